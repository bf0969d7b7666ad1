// What the fuzzers kept (tests/corpus): each input once more, without a fuzzer; and bytes
// by chance, a few for each target. test_corpus random TARGET COUNT [SEED]: more of them.
#define FUZZ_CORPUS
#include "fuzz_wheel.c"
#include "fuzz_channels.c"
#include "fuzz_combine.c"
#include "fuzz_streams.c"
#include "fuzz_addr.c"
#include "harness.h"

static void replay(void (*target)(void), const char *name)
{
    char path[512];
    const char *slash = strrchr(__FILE__, '/');
    snprintf(path, sizeof path, "%.*s/corpus/%s", slash ? (int)(slash - __FILE__) : 1, slash ? __FILE__ : ".", name);
    CHECK(fuzz_path(target, path) > 0);
    fuzz_file = "by chance";
    fuzz_main(target, 3, (char *[]){NULL, (char *)"random", (char *)"200"});
}
static const struct {
    const char *name;
    void (*target)(void);
} targets[] = {{"wheel", fuzz_wheel}, {"channels", fuzz_channels}, {"combine", fuzz_combine}, {"streams", fuzz_streams}, {"addr", fuzz_addr}};
static void wheel(void) { replay(fuzz_wheel, "wheel"); }
static void channels(void) { replay(fuzz_channels, "channels"); }
static void combine(void) { replay(fuzz_combine, "combine"); }
static void streams(void) { replay(fuzz_streams, "streams"); }
static void addr(void) { replay(fuzz_addr, "addr"); }

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 3 && i < sizeof targets / sizeof *targets; i++)
        if (!strcmp(argv[1], "random") && !strcmp(argv[2], targets[i].name)) {
            argv[2] = argv[1];
            return fuzz_main(targets[i].target, argc - 1, argv + 1);
        }
    (void)test__on_each;
    test_init(argc, argv);
    TEST(wheel);
    TEST(channels);
    TEST(combine);
    TEST(streams);
    TEST(addr);
    return test_end();
}
