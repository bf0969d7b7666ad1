// What fuzz_http.c kept: each input once more, without a fuzzer.
#define FUZZ_CORPUS
#include "fuzz_http.c"

int main(void)
{
    char path[512];
    snprintf(path, sizeof path, "%.*s/corpus/http", (int)(strrchr(__FILE__, '/') - __FILE__), __FILE__);
    return fuzz_main(fuzz_http, 2, (char *[]){NULL, path});
}
