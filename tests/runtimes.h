// Runtimes of the test programs about the core: their memory is counted, their log is kept.
#define COUNTED .allocator = TEST_COUNTED, .log = {.func = test_log}
static crt_runtime *built(crt_config c)
{
    crt_runtime *rt = NULL;
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    return rt;
}
static crt_runtime *paused(void)
{
    return built((crt_config){.flavor = CRT_CURRENT_THREAD, .start_paused = true, COUNTED});
}
static void dropped(crt_runtime *rt)
{
    crt_runtime_drop(&rt);
    test_all_freed();
}
static crt_poll nothing_run(void *frame, crt_cx *cx) { return (void)frame, (void)cx, 0; }
