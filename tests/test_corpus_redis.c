// What fuzz_redis.c kept: each input once more, without a fuzzer.
#define LIBFUZZER
#include "fuzz_redis.c"
#undef LIBFUZZER
#define FUZZ_CORPUS
#include "fuzz.h"

static void redis(void) { LLVMFuzzerTestOneInput(fuzz.data, fuzz.size); }
int main(void)
{
    char path[512];
    LLVMFuzzerInitialize(NULL, NULL);
    snprintf(path, sizeof path, "%.*s/corpus/redis", (int)(strrchr(__FILE__, '/') - __FILE__), __FILE__);
    return fuzz_main(redis, 2, (char *[]){NULL, path});
}
