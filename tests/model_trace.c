// model_trace.c - the numbers of CRT_ENABLE_TRACE while tasks are woken, polled and looked at.
//
// Promise: every wake and every poll is counted once, whoever looks meanwhile finds numbers that can be true, and the
// record goes with its task (a leak, or a use after that, is found). Time stands still; the counts are what is checked.
#define CRT_ENABLE_TRACE
#include "model_platform.h"

static uint32_t flags[2];   // atomic
static crt_waker wakers[2];
static int polls;

static crt_poll wait_run(void *frame, crt_cx *cx)
{
    (void)frame, (void)cx;
    polls++;
    return crt__atomic_load(&flags[0], RELAXED) && crt__atomic_load(&flags[1], RELAXED) ? 0 : CRT_PENDING;
}
static crt_task *start(void)
{
    model_runtime(1);
    rt.watches_polls = 1;
    memset(flags, 0, sizeof flags);
    polls = 0;
    // Where its frame would be is its record: since when it can run.
    crt_task *t = model_task(wait_run, &(crt__record){0}, sizeof(crt__record), false);
    t->flags |= CRT__TASK_TIMED;
    crt__trace_spawn(t, NULL);
    EX_ASSERT(crt__ext_find(t, CRT__EXT_TRACE));
    crt__list_push(&workers[0].fifo, t);
    for (int i = 0; i < 2; i++) {
        wakers[i] = (crt_waker){&crt__task_waker, t};
        crt__task_ref(t);
    }
    crt__task_ref(t);   // the model's own
    return t;
}
static void wake(void *arg)
{
    intptr_t i = (intptr_t)arg;
    crt__atomic_store(&flags[i], 1, RELAXED);
    crt_wake(&wakers[i]);
}
static void look(void *arg)
{
    crt_task_metrics m = {0};
    EX_ASSERT(crt__trace_read(arg, &m));
    EX_ASSERT(m.wakes <= 2 && m.polls <= 3 && m.self_wakes == 0 && m.busy == 0 && m.scheduled == 0);
    crt__task_unref(arg, 1);
}
static void counted(crt_task *t)
{
    crt_task_metrics m = {0};
    EX_ASSERT(crt__trace_read(t, &m) && m.wakes == 2 && m.polls == (uint64_t)polls);
    crt__task_unref(t, 1);
}
static void two_wakes(void)
{
    crt_task *t = start();
    int a = ex_spawn(wake, (void *)0), b = ex_spawn(wake, (void *)1);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    counted(t);
}
// Who looks holds the task, which may end meanwhile.
static void look_against_end(void)
{
    crt_task *t = start();
    crt__task_ref(t);
    wake((void *)0);
    int a = ex_spawn(look, t), b = ex_spawn(wake, (void *)1);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    counted(t);
}

static const model models[] = {
    {.name = "two wakes against polls", .run = two_wakes},
    {.name = "a look against a wake and the end", .run = look_against_end},

    {.name = "seed: wakes are counted in two steps", .run = two_wakes,
     .seed = {"crt__trace_wake", "add &e->wakes", MODEL_SPLIT, 0, NULL, 0}},
};
MODEL_MAIN(models)
