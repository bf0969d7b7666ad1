// model_calls.c - what reaches a task from outside its runtime: a blocking call that ends, a signal that is raised.
//
// Promise: the result of a call reaches the task that waits, with what the job wrote; a wait that is given up lets go
// of the call, and its memory is cleaned and freed once, by whoever is last, whether the job has run, runs or never
// will; a task that asks for a signal hears of it, once, however many runtimes watch the pipe.
#include "model_platform.h"

static int written;           // plain: from the job to the task
static int cleaned, outcome, unwinds;
static crt_join_handle *handle;

static void setup(void)
{
    model_runtime(1);
    rt.config.max_blocking_threads = 1;
    rt.config.thread_keep_alive = CRT_SEC(10);
    written = cleaned = unwinds = 0;
    outcome = -1;
    handle = NULL;
}

// --- calls

static intptr_t call_run(crt__call *c)
{
    (void)c;
    EX_WRITE(written) = 1;
    return 7;
}
static void call_clean(crt__call *c)
{
    (void)c;
    cleaned++;
}
static const crt__op op_call = {"call", crt__op_call_cancel};
static crt_poll call_leaf(crt_cx *cx)
{
    if (!crt__leaf(cx, &op_call, cx->slot->op ? cx->slot->object : NULL)) return CRT_UNWIND;
    if (!cx->slot->op) {
        crt__call *c = crt__call_new(sizeof *c, call_run, call_clean);
        EX_ASSERT(c);
        return crt__call_start(cx, &op_call, c);
    }
    crt__call *c = crt__call_result(cx);
    if (!c) return CRT_PENDING;
    intptr_t r = c->result;
    if (r >= 0) EX_ASSERT(EX_READ(written) == 1);
    crt__call_unref(c);
    return r;
}
static crt_poll call_task(void *frame, crt_cx *cx)
{
    (void)frame;
    crt_poll r = call_leaf(cx);
    if (r == CRT_PENDING) return r;
    if (r == CRT_UNWIND) unwinds++;
    else outcome = (int)r;
    return r == CRT_UNWIND ? r : 0;
}
static void start_call(crt_join_handle **join)
{
    int frame = 0;
    setup();
    model_start(call_task, &frame, sizeof frame, join);
}
static void call_against_wait(void)
{
    start_call(NULL);
    model_run_until(&workers[0], 1);
    model_pool_finish();
    EX_ASSERT(outcome == 7 && cleaned == 1);
}
static void aborts(void *arg)
{
    (void)arg;
    crt_abort(handle);
    crt_detach(&handle);
}
static void call_against_abort(void)
{
    start_call(&handle);
    int a = ex_spawn(aborts, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a);
    model_pool_finish();
    // Aborted before its first poll, it has started nothing.
    EX_ASSERT(outcome == 7 ? cleaned == 1 && !unwinds : unwinds == 1 && cleaned <= 1);
}
// Polled because of somebody else, the task may find the call done before the call wakes it.
static void stray_wake(void *t)
{
    crt__task_wake(t);
    crt__task_unref(t, 1);
}
static void call_against_stray_wake(void)
{
    int frame = 0;
    setup();
    crt_task *t = model_start(call_task, &frame, sizeof frame, NULL);
    crt__task_ref(t);
    int a = ex_spawn(stray_wake, t);
    model_run_until(&workers[0], 1);
    ex_join(a);
    model_pool_finish();
    EX_ASSERT(outcome == 7 && cleaned == 1);
}
static void no_thread_for_a_call(void)
{
    start_call(NULL);
    model_start_fails = true;
    model_run_until(&workers[0], 1);
    model_pool_finish();
    EX_ASSERT(outcome < 0 && cleaned == 1);
}

// --- signals: T1 is the handler, T2 (and T3) the drivers of runtimes that watch the pipe

enum { SIGNAL = 10 };
static uint32_t pipe_bytes;   // atomic: what the handler has written
static uint32_t pipe_ends;    // atomic
static int heard;
static crt_poll signal_task(void *frame, crt_cx *cx)
{
    (void)frame;
    crt_poll r = crt_signal_recv(cx, SIGNAL);
    if (r == CRT_PENDING) return r;
    if (r == CRT_UNWIND) {
        unwinds++;
        return r;
    }
    EX_ASSERT(r == 0 && EX_READ(written) == 1);
    heard++;
    return 0;
}
static void start_signal(crt_join_handle **join)
{
    int frame = 0;
    setup();
    model_watch(&crt__signals, sizeof crt__signals);
    memset(&crt__signals, 0, sizeof crt__signals);
    crt__signals.pipe[0] = crt__signals.pipe[1] = -1;
    crt__signals.ready = true;
    crt__signals.installed[SIGNAL] = 1;
    rt.config.drivers |= CRT_DRIVER_SIGNAL;
    rt.signal_registered = 1;
    pipe_bytes = pipe_ends = 0;
    heard = 0;
    // The task has asked before, so that it misses nothing from now on.
    crt_task *t = model_start(signal_task, &frame, sizeof frame, join);
    crt__signal_news news = {{NULL, NULL}, false};
    EX_ASSERT(crt__signal_memory(t, SIGNAL, &news) && !news.ready.head);
}
static void handler(void *arg)
{
    (void)arg;
    EX_WRITE(written) = 1;
    crt__signal_set(SIGNAL);
    crt__atomic_add(&pipe_bytes, 1, ACQ_REL);
    crt__futex_wake(&pipe_bytes, INT_MAX);
}
// Each runtime is told of the byte by an edge of its own; the first to read takes it, all look at the flags.
static void driver(void *arg)
{
    (void)arg;
    while (!crt__atomic_load(&pipe_bytes, ACQUIRE)) crt__futex_wait(&pipe_bytes, 0, -1);
    crt__signal_wake(&rt);
}
// As the first call of another task does it: what was raised before is counted for those who waited before.
static void first_call(void *arg)
{
    (void)arg;
    crt__signal_news news = {{NULL, NULL}, false};
    crt__lock(&crt__signals.lock);
    crt__signal_take(SIGNAL, &news);
    crt__unlock(&crt__signals.lock);
    crt__signal_tell(&news);
}
static void signal_to(int drivers, bool abort, bool another)
{
    start_signal(abort ? &handle : NULL);
    int t[4], n = 0;
    t[n++] = ex_spawn(handler, NULL);
    while (n <= drivers) t[n++] = ex_spawn(driver, NULL);
    if (abort) t[n++] = ex_spawn(aborts, NULL);
    if (another) t[n++] = ex_spawn(first_call, NULL);
    model_run_until(&workers[0], 1);
    while (n) ex_join(t[--n]);
    EX_ASSERT(heard + unwinds == 1 && (abort || heard == 1));
    EX_ASSERT(crt__signals.count[SIGNAL] == 1 && !crt__signals.waiters && !crt__signals.raised[SIGNAL]);
}
static void signal_against_wait(void) { signal_to(1, false, false); }
static void two_drivers(void) { signal_to(2, false, false); }
static void signal_against_abort(void) { signal_to(1, true, false); }
static void signal_against_first_call(void) { signal_to(1, false, true); }

static const model table[] = {
    {.name = "a call ends while its task goes to wait", .run = call_against_wait},
    {.name = "a call ends, or never begins, while its task is aborted", .run = call_against_abort},
    {.name = "a call ends while its task is woken by another", .run = call_against_stray_wake},
    {.name = "no thread can be started for a call", .run = no_thread_for_a_call},
    {.name = "a signal against a task that goes to wait", .run = signal_against_wait},
    {.name = "a signal, and two runtimes that watch", .run = two_drivers},
    {.name = "a signal against an abort", .run = signal_against_abort},
    {.name = "a signal against the first call of another task", .run = signal_against_first_call},
    // what is done wrongly is found
    {.name = "seed: a call that ends wakes nobody", .run = call_against_wait,
     .seed = {"crt__call_finish", "xchg &c->word", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: a call ends without an order", .run = call_against_stray_wake,
     .seed = {"crt__call_finish", "xchg &c->word", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: a call ends in two steps", .run = call_against_abort,
     .seed = {"crt__call_finish", "xchg &c->word", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: who gives up a call counts in two steps", .run = call_against_abort,
     .seed = {"crt__call_unref", "sub &c->refs", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: a job is cancelled without a look", .run = call_against_abort,
     .seed = {"crt__word_unpark", "cas word", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: a flag that is taken stays up", .run = two_drivers,
     .seed = {"crt__signal_take", "xchg &crt__signals.raised[sig]", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: the handler raises no flag", .run = signal_against_wait,
     .seed = {"crt__signal_set", NULL, MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: signals are handed out without the lock", .run = signal_against_wait,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, &crt__signals.lock, 0}},
};
MODEL_MAIN(table)
