// harness.h - the small shared harness of all tests
//
//   static void spawns(void) { CHECK(1 + 1 == 2); CHECK_EQ(f(), 7); }
//   int main(int argc, char **argv) {
//       TEST(spawns);                // one test
//       TEST_ON_EACH(joins);         // void joins(crt_runtime *rt), on three runtimes
//       return test_end();
//   }
//
// A failed CHECK prints file and line and fails the test; the test goes on. An
// argument names the tests to run (substring). The closing line is
// "N passed, N failed" and the exit status says the same (1 also where no test is so named). A test that hangs for
// 60 s is named and aborted (TEST_SLOW in the environment: 600 s). TEST_SKIP=" a b " leaves out a and b;
// TEST_NAMES names each test as it begins.
#ifndef CRT_TEST_HARNESS_H
#define CRT_TEST_HARNESS_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#ifdef _WIN32   // the tests use POSIX threads and clocks there too: mingw has them
#include <pthread.h>
#include <pthread_time.h>
#include <sys/time.h>
#include <windows.h>
#ifndef SIGUSR1
#define SIGUSR1 SIGTERM   // Windows has none of the user's; where one will do, these do
#define SIGUSR2 SIGBREAK
#define SIGHUP SIGINT
#endif
#endif

static int test__passed, test__failed, test__bad, test__named;
static const char *test__filter;
static char test__name[128];

#ifdef _WIN32
// In place of alarm(): a thread that looks four times a second.
static volatile LONG test__left;
static DWORD WINAPI test__watch(void *unused)
{
    (void)unused;
    for (;;) {
        Sleep(250);
        if (InterlockedExchangeAdd(&test__left, 0) && !InterlockedDecrement(&test__left)) {
            fprintf(stderr, "hangs: %s\n", test__name);
            fflush(stderr);
            fputs("0 passed, 1 failed\n", stdout);
            fflush(stdout);
            TerminateProcess(GetCurrentProcess(), 3);
        }
    }
    return 0;
}
static void test__set_alarm(unsigned seconds)
{
    static HANDLE thread;
    InterlockedExchange(&test__left, (LONG)seconds * 4);
    if (!thread) thread = CreateThread(NULL, 0, test__watch, NULL, 0, NULL);
}
#else
static void test__alarm(int sig)
{
    (void)sig;
    const char *text = "hangs: ";
    ssize_t n = write(2, text, strlen(text));
    n += write(2, test__name, strlen(test__name));
    n += write(2, "\n0 passed, 1 failed\n", 20);
    (void)n;
    _exit(3);
}
static void test__set_alarm(unsigned seconds)
{
    signal(SIGALRM, test__alarm);
    alarm(seconds);
}
#endif
__attribute__((unused)) static void test__fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s: %s\n", file, line, test__name, what);
    __atomic_fetch_add(&test__bad, 1, __ATOMIC_SEQ_CST);
}
__attribute__((unused)) static void test__fail_eq(const char *file, int line, const char *what, long long got, long long want)
{
    fprintf(stderr, "%s:%d: %s: %s is %lld, not %lld\n", file, line, test__name, what, got, want);
    __atomic_fetch_add(&test__bad, 1, __ATOMIC_SEQ_CST);
}
// The one place where a test sleeps: between two looks at a condition, or to let
// another thread get somewhere. 0, so that it can stand in a condition.
#ifdef _WIN32   // usleep cuts off what is below a millisecond: it would not sleep at all
__attribute__((unused)) static int test_pause_us(long us) { return Sleep((DWORD)(us + 999) / 1000), 0; }
#else
__attribute__((unused)) static int test_pause_us(long us) { return usleep((useconds_t)us); }
#endif
// Where no call makes a descriptor close-on-exec at once.
#ifdef __APPLE__
#define TEST_CLOEXEC 0
#define test_socket(family, type) test__nonblocking(socket((family), (type), 0))
__attribute__((unused)) static int test__nonblocking(int fd)
{
    return fcntl(fd, F_SETFL, O_NONBLOCK) ? -1 : fd;
}
__attribute__((unused)) static int test_pipe(int fd[2])
{
    return pipe(fd) || fcntl(fd[0], F_SETFD, FD_CLOEXEC) || fcntl(fd[1], F_SETFD, FD_CLOEXEC) ? -1 : 0;
}
#elif !defined(_WIN32)
#define TEST_CLOEXEC SOCK_CLOEXEC
#define test_socket(family, type) socket((family), (type) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
#define test_pipe(fd) pipe2((fd), O_CLOEXEC)
#endif
#ifdef CRT_H
// Threads of this process; 0: this system does not say. Not by listing /proc/self/task: who lists it while one of
// them ends may miss those after it.
static CRT__UNUSED int test_thread_count(void)
{
    int n = 0;
#ifdef __linux__
    char text[4096] = "";
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    char *line = got > 0 ? strstr(text, "\nThreads:") : NULL;
    if (line) n = atoi(line + 9);
    if (fd >= 0) close(fd);
#endif
    return n;
}
#ifdef _WIN32
#include "win_shim/win_posix.h"
#else
#include <dirent.h>
// How many descriptors are open; -1 where the system does not tell.
static CRT__UNUSED int test_fd_count(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    if (!d) return -1;
    while (readdir(d)) n++;
    closedir(d);
    return n;
}
#endif
#endif
// How long to wait before something is said to hang: under an emulator or memcheck, ten times as long.
static unsigned test_patience(unsigned seconds) { return getenv("TEST_SLOW") ? seconds * 10 : seconds; }
// A new, empty directory of this run's own. 0, or -1.
__attribute__((unused)) static int test_directory(char *path, size_t room)
{
#ifdef _WIN32
    char temp[200];
    DWORD n = GetTempPathA(sizeof temp, temp);
    if (!n || n >= sizeof temp) return -1;
    for (char *p = temp; *p; p++) if (*p == '\\') *p = '/';
    int k = snprintf(path, room, "%scrt-test-%lx-%lx", temp, (unsigned long)GetCurrentProcessId(), (unsigned long)GetTickCount());
    return k > 0 && (size_t)k < room && CreateDirectoryA(path, NULL) ? 0 : -1;
#else
    snprintf(path, room, "/tmp/crt-test-XXXXXX");
    return mkdtemp(path) ? 0 : -1;
#endif
}
// Usable from any thread.
#define CHECK(c) ((c) ? (void)0 : test__fail(__FILE__, __LINE__, "not true: " #c))
#define CHECK_EQ(got, want)                                                                \
    do {                                                                                   \
        long long test__g = (long long)(got), test__w = (long long)(want);                 \
        if (test__g != test__w) test__fail_eq(__FILE__, __LINE__, #got, test__g, test__w); \
    } while (0)

static bool test__begin(const char *name, const char *variant)
{
    snprintf(test__name, sizeof test__name, "%s%s%s", name, variant ? " on " : "", variant ? variant : "");
    if (test__filter && !strstr(test__name, test__filter)) return false;
    test__named++;
    const char *skip = getenv("TEST_SKIP");
    char word[130];
    snprintf(word, sizeof word, " %s ", name);
    if (skip && strstr(skip, word)) return false;
    test__bad = 0;
    if (getenv("TEST_NAMES")) fprintf(stderr, "%s\n", test__name);
    test__set_alarm(test_patience(60));
    return true;
}
static void test__done(void)
{
    test__set_alarm(0);
    if (test__bad) {
        test__failed++;
        fprintf(stderr, "FAILED %s\n", test__name);
    } else {
        test__passed++;
    }
}
#define TEST(fn)                                                                           \
    do {                                                                                   \
        if (test__begin(#fn, NULL)) {                                                      \
            fn();                                                                          \
            test__done();                                                                  \
        }                                                                                  \
    } while (0)
static void test_init(int argc, char **argv)
{
    test__filter = argc > 1 ? argv[1] : NULL;
#ifndef _WIN32   // where a standard descriptor is missing, the first pipe of a test would stand in for it
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) != fd) abort();
#endif
}
static int test_end(void)
{
    bool unnamed = test__filter && !test__named;
    if (unnamed) fprintf(stderr, "no test here has '%s' in its name\n", test__filter);
    fflush(stderr);
    printf("%d passed, %d failed\n", test__passed, test__failed);
    return test__failed != 0 || unnamed;
}

#ifdef CRT_H
// The same body on three runtimes: current thread, one worker, four workers.
typedef void (*test_on_rt)(crt_runtime *rt);
static CRT__UNUSED void test__on_each(const char *name, test_on_rt fn, const crt_config *base)
{
    static const struct { const char *name; int flavor, workers; } kinds[] = {
        {"current_thread", CRT_CURRENT_THREAD, 1},
        {"1 worker", CRT_MULTI_THREAD, 1},
        {"4 workers", CRT_MULTI_THREAD, 4},
    };
    for (int i = 0; i < 3; i++) {
        crt_config c = *base;
        crt_runtime *rt;
        c.flavor = kinds[i].flavor;
        c.worker_threads = kinds[i].workers;
        if (!test__begin(name, kinds[i].name)) continue;
        int e = crt_runtime_new(&c, &rt);
        CHECK_EQ(e, 0);
        if (!e) {
            fn(rt);
            crt_runtime_drop(&rt);
        }
        test__done();
    }
}
#define TEST_ON_EACH(fn)                                                                   \
    do {                                                                                   \
        static const crt_config test__none;                                                \
        test__on_each(#fn, fn, &test__none);                                               \
    } while (0)
#define TEST_ON_EACH_WITH(fn, ...) test__on_each(#fn, fn, &(crt_config){__VA_ARGS__})
// Memory of a runtime, counted in blocks: .allocator = TEST_COUNTED. What it took comes back.
static long test_blocks;   // atomic
static CRT__UNUSED void *test_counted_alloc(size_t n, void *user)
{
    (void)user;
    __atomic_fetch_add(&test_blocks, 1, __ATOMIC_SEQ_CST);
    return malloc(n);
}
static CRT__UNUSED void test_counted_free(void *p, void *user)
{
    (void)user;
    __atomic_fetch_sub(&test_blocks, 1, __ATOMIC_SEQ_CST);
#ifdef __GLIBC__
    memset(p, 0xdd, malloc_usable_size(p));   // who looks at it all the same finds nonsense
#endif
    free(p);
}
#define TEST_COUNTED {test_counted_alloc, test_counted_free, NULL}
// All of it has come back; other threads may hold the last of it for a moment. Counts anew.
static CRT__UNUSED void test_all_freed(void)
{
    for (int i = 0; i < 20000 && __atomic_load_n(&test_blocks, __ATOMIC_SEQ_CST); i++) test_pause_us(200);
    CHECK_EQ(__atomic_exchange_n(&test_blocks, 0, __ATOMIC_SEQ_CST), 0);
}
// Log lines of a runtime, kept for a test to look at: config.log.func = test_log.
static char test_log_text[1 << 16];
static size_t test_log_length;
static int test_log_lock;
static CRT__UNUSED void test_log(int level, const char *message, void *user)
{
    (void)level;
    (void)user;
    while (__atomic_exchange_n(&test_log_lock, 1, __ATOMIC_ACQUIRE)) {}
    int n = snprintf(test_log_text + test_log_length, sizeof test_log_text - test_log_length, "%s\n", message);
    if (n > 0 && test_log_length + (size_t)n < sizeof test_log_text) test_log_length += (size_t)n;
    __atomic_store_n(&test_log_lock, 0, __ATOMIC_RELEASE);
}
static CRT__UNUSED void test_log_clear(void)
{
    test_log_length = 0;
    test_log_text[0] = 0;
}
// What crt_dump says, and to how many tasks; to be freed.
static CRT__UNUSED char *test_dump(crt_runtime *rt, int *n)
{
    char *text = NULL;
#ifdef _WIN32
    FILE *f = tmpfile();
    *n = crt_dump(rt, f);
    long size = ftell(f);
    rewind(f);
    text = calloc(1, (size_t)size + 1);
    CHECK_EQ(fread(text, 1, (size_t)size, f), size);
#else
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    *n = crt_dump(rt, f);
#endif
    fclose(f);
    return text;
}
static CRT__UNUSED bool test_log_has(const char *text) { return strstr(test_log_text, text) != NULL; }
#endif
#endif
