// fuzz_crt.h - fuzz.h and crt.h for the targets that go well together in one program:
// memory is counted, one current-thread runtime with a virtual clock serves them all.
#ifndef CRT_FUZZ_CRT_H
#define CRT_FUZZ_CRT_H
#include "fuzz.h"

static long fuzz_live;   // allocations not yet freed
FUZZ_API void *fuzz_malloc(size_t n)
{
    fuzz_live++;
    return malloc(n);
}
FUZZ_API void fuzz_free(void *p)
{
    if (p) fuzz_live--;
    free(p);
}
#define CRT_MALLOC(n) fuzz_malloc(n)
#define CRT_FREE(p) fuzz_free(p)
#define CRT_ASSERT(c) FUZZ_CHECK(c)
#define CRT_IMPLEMENTATION
#include "crt.h"

FUZZ_API void fuzz_quiet(int level, const char *message, void *user) { (void)level, (void)message, (void)user; }
FUZZ_API crt_runtime *fuzz_runtime(void)
{
    static crt_runtime *rt;
    crt_config c = {.flavor = CRT_CURRENT_THREAD, .start_paused = true, .seed = 7, .log.func = fuzz_quiet};
    if (!rt && crt_runtime_new(&c, &rt)) fuzz_wrong(__FILE__, __LINE__, "no runtime");
    return rt;
}
// Runs fn over the frame as the only task; the runtime is then as it was.
FUZZ_API crt_poll fuzz_block_on(crt_fn fn, void *frame)
{
    crt_runtime *rt = fuzz_runtime();
    static crt_fn last;
    long live = fuzz_live;
    crt_poll r = crt_block_on(rt, fn, frame);
    FUZZ_CHECK(fn != last || fuzz_live == live);   // caches fill the first time
    last = fn;
    FUZZ_CHECK(crt__wheels_next(rt) == CRT_FOREVER || (crt__wheel_refresh(&rt->workers[0].wheel), crt__wheels_next(rt) == CRT_FOREVER));
    return r;
}
#endif
