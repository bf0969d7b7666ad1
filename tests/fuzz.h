// fuzz.h - what the fuzz targets share
//
// A target is a file fuzz_NAME.c with one function over some bytes:
//     FUZZ(name) { ... uses data, size ... }
// and is built in one of three ways:
//     -DLIBFUZZER -fsanitize=fuzzer   tests/fuzz.sh runs it, and keeps what it learns
//     alone                           ./fuzz_name FILE|DIRECTORY...: runs those, once each;
//                                     ./fuzz_name random COUNT [SEED]: bytes by chance
//     by test_corpus*.c               runs tests/corpus/NAME in `make test`
// The bytes are a program: each choice takes the next one, and when none are left all
// choices are 0. What is wrong aborts, after a line that says what.
#ifndef CRT_FUZZ_H
#define CRT_FUZZ_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FUZZ_API static __attribute__((unused))

static struct {
    const uint8_t *data;
    size_t size, at;
} fuzz;
static const char *fuzz_file = "";

#define FUZZ_CHECK(c) ((c) ? (void)0 : fuzz_wrong(__FILE__, __LINE__, #c))
FUZZ_API void fuzz_wrong(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s (%s, after %zu of %zu bytes)\n", file, line, what, fuzz_file, fuzz.at, fuzz.size);
    abort();
}
FUZZ_API bool fuzz_more(void) { return fuzz.at < fuzz.size; }
FUZZ_API uint32_t fuzz_byte(void) { return fuzz.at < fuzz.size ? fuzz.data[fuzz.at++] : 0; }
// A choice among n, n at most 65536.
FUZZ_API uint32_t fuzz_choose(uint32_t n)
{
    uint32_t x = fuzz_byte();
    if (n > 256) x = x << 8 | fuzz_byte();
    return n ? x % n : 0;
}
FUZZ_API uint64_t fuzz_u64(int bytes)
{
    uint64_t x = 0;
    for (int i = 0; i < bytes; i++) x = x << 8 | fuzz_byte();
    return x;
}

#if defined(LIBFUZZER)
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
#define FUZZ(name)                                                                         \
    static void fuzz_##name(void);                                                         \
    int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)                         \
    {                                                                                      \
        fuzz.data = bytes;                                                                 \
        fuzz.size = count;                                                                 \
        fuzz.at = 0;                                                                       \
        fuzz_##name();                                                                     \
        return 0;                                                                          \
    }                                                                                      \
    static void fuzz_##name(void)
#else
FUZZ_API void fuzz_bytes(void (*target)(void), const uint8_t *data, size_t size)
{
    // A copy of exactly that size: who reads beyond it is seen by a sanitizer.
    uint8_t *copy = malloc(size ? size : 1);
    if (size) memcpy(copy, data, size);
    fuzz.data = copy;
    fuzz.size = size;
    fuzz.at = 0;
    target();
    free(copy);
}
// Runs a file, or the files of a directory: how many.
FUZZ_API int fuzz_path(void (*target)(void), const char *path)
{
    struct stat st;
    if (stat(path, &st)) {
        fprintf(stderr, "%s: there is no such file\n", path);
        exit(1);
    }
    if (S_ISDIR(st.st_mode)) {
        int n = 0;
        DIR *d = opendir(path);
        for (struct dirent *e; d && (e = readdir(d));) {
            char name[1024];
            if (e->d_name[0] == '.') continue;
            snprintf(name, sizeof name, "%s/%s", path, e->d_name);
            n += fuzz_path(target, name);
        }
        if (d) closedir(d);
        return n;
    }
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc((size_t)st.st_size + 1);
    size_t n = f && data ? fread(data, 1, (size_t)st.st_size, f) : 0;
    if (f) fclose(f);
    fuzz_file = path;
    fuzz_bytes(target, data, n);
    free(data);
    return 1;
}
FUZZ_API int fuzz_main(void (*target)(void), int argc, char **argv)
{
    int n = 0;
    if (argc > 2 && !strcmp(argv[1], "random")) {
        uint64_t x = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
        static uint8_t bytes[512];
        for (long k = strtol(argv[2], NULL, 10); n < k; n++) {
            for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)((x = x * 6364136223846793005u + 1442695040888963407u) >> 56);
            fuzz_bytes(target, bytes, (size_t)(x >> 33) % sizeof bytes);
        }
    } else {
        for (int i = 1; i < argc; i++) n += fuzz_path(target, argv[i]);
    }
    printf("%d inputs\n%d passed, 0 failed\n", n, n > 0);
    return n == 0;
}
#if defined(FUZZ_CORPUS)   // several targets in one program
#define FUZZ(name) static void fuzz_##name(void)
#else
#define FUZZ(name)                                                                         \
    static void fuzz_##name(void);                                                         \
    int main(int argc, char **argv) { return fuzz_main(fuzz_##name, argc, argv); }         \
    static void fuzz_##name(void)
#endif
#endif
#endif
