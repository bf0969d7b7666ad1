// model_task.c - the state word of a task: polls against wakes, aborts, joins, the end.
//
// Promise: a wake is never lost, a task is in one queue at most, an abort is delivered
// exactly once, the outcome reaches whoever joins, an unjoined failure is reported exactly
// once, and the memory is freed exactly once, after the last reference.
// One worker (current thread) polls; other threads do to the task what they may.
#include "model_platform.h"

static uint32_t flags[2];     // atomic: what wakers set before they wake
static int message[2];        // plain: what they write before that
static int polls, unwinds, ended;
static crt_waker wakers[2];
static crt_join_handle *handle;

static void setup(void)
{
    model_runtime(1);
    rt.driving = 1;   // worker() does
    memset(flags, 0, sizeof flags);
    memset(message, 0, sizeof message);
    memset(wakers, 0, sizeof wakers);
    polls = unwinds = ended = 0;
    handle = NULL;
}
static void submit(crt_task *t) { crt__list_push(&workers[0].fifo, t); }
static crt_waker waker_for(crt_task *t)
{
    crt_waker w = {&crt__task_waker, t};
    crt__task_ref(t);
    return w;
}
static void worker(void *arg) { model_run_until(&workers[0], (uint64_t)(uintptr_t)arg); }

// --- wakes

// Ready when `want` flags are up. Their relaxed loads learn of them through the wake alone.
typedef struct wait_frame {
    int want;
} wait_frame;
static crt_poll wait_run(void *frame, crt_cx *cx)
{
    wait_frame *self = frame;
    polls++;
    if (crt_take_unwind(cx)) {
        unwinds++;
        return CRT_UNWIND;
    }
    for (int i = 0; i < self->want; i++)
        if (!crt__atomic_load(&flags[i], RELAXED)) return CRT_PENDING;
    return 7;
}
static void wake(void *arg)
{
    intptr_t i = (intptr_t)arg;
    crt__atomic_store(&flags[i], 1, RELAXED);
    crt_wake(&wakers[i]);
}
static void two_wakers(void)
{
    setup();
    crt_task *t = model_task(wait_run, &(wait_frame){2}, sizeof(wait_frame), false);
    wakers[0] = waker_for(t);
    wakers[1] = waker_for(t);
    submit(t);
    int a = ex_spawn(wake, (void *)0), b = ex_spawn(wake, (void *)1);
    worker((void *)1);
    ex_join(a), ex_join(b);
}
// The same waker may be called any number of times, also after the task has ended.
static void wake_often(void *arg)
{
    (void)arg;
    crt__atomic_store(&flags[0], 1, RELAXED);
    crt_wake_by_ref(&wakers[0]);
    crt_wake_by_ref(&wakers[0]);
    crt_waker_drop(&wakers[0]);
}
static void wake_against_end(void)
{
    setup();
    crt_task *t = model_task(wait_run, &(wait_frame){1}, sizeof(wait_frame), false);
    wakers[0] = waker_for(t);
    submit(t);
    int a = ex_spawn(wake_often, NULL);
    worker((void *)1);
    ex_join(a);
    EX_ASSERT(polls <= 3);
}
// A task that ends at once, and a waker that is only dropped: who frees it?
static void drop_waker(void *arg) { crt_waker_drop(&wakers[(intptr_t)arg]); }
static void last_reference(void)
{
    setup();
    crt_task *t = model_task(wait_run, &(wait_frame){0}, sizeof(wait_frame), true);
    wakers[0] = waker_for(t);
    wakers[1] = waker_for(t);
    handle = model_handle(t);
    submit(t);
    int a = ex_spawn(drop_waker, (void *)0), b = ex_spawn(drop_waker, (void *)1), c = ex_spawn(worker, (void *)1);
    crt_detach(&handle);
    ex_join(a), ex_join(b), ex_join(c);
}
// A walk over the chunks (dump, shutdown) takes a reference only to what still lives.
static crt_task *walked;
static void walker(void *arg)
{
    (void)arg;
    if (crt__task_try_ref(walked)) crt__task_unref(walked, 1);
}
static void walk_against_end(void)
{
    // In a class of the slab, because only there the memory outlives the task.
    static struct { crt__chunk chunk; char room[sizeof(crt_task) + 64]; } slab;
    setup();
    slab.chunk = (crt__chunk){&rt, NULL, NULL, 5, 192, 1, 1};
    walked = crt__chunk_task(&slab.chunk, 0);
    walked->home = &slab.chunk;
    crt__task_init(walked, &workers[0], wait_run, &(wait_frame){0}, sizeof(wait_frame), 0);
    crt__task_publish(walked, false, 0);
    submit(walked);
    int a = ex_spawn(walker, NULL), b = ex_spawn(walker, NULL);
    worker((void *)1);
    ex_join(a), ex_join(b);
    EX_ASSERT(walked->state == 0);
    EX_ASSERT(rt.depot[5] == walked || workers[0].cache[5].list == walked);
    crt_task *first = rt.depot[5] ? rt.depot[5] : workers[0].cache[5].list;
    EX_ASSERT((first->next ? 1 : 0) + (rt.depot[5] && workers[0].cache[5].list ? 1 : 0) == 0);   // once
}

// --- yields: the task keeps ACTIVE while it waits in the deferred list

static crt_poll yield_run(void *frame, crt_cx *cx)
{
    wait_frame *self = frame;
    if (!crt__atomic_load(&flags[1], RELAXED)) polls++;
    crt_poll r = crt_yield_now(cx);
    if (r == CRT_UNWIND) {
        unwinds++;
        return r;
    }
    if (r == CRT_PENDING) return r;
    if (--self->want > 0) {
        r = crt_yield_now(cx);
        return r ? r : CRT_PENDING;
    }
    ended++;
    // From now on as wait_run: the wake that came while it yielded must not be lost.
    return crt__atomic_load(&flags[0], RELAXED) ? 0 : (self->want = 1, CRT_PENDING);
}
static void wake_while_yielding(void)
{
    setup();
    crt_task *t = model_task(yield_run, &(wait_frame){2}, sizeof(wait_frame), false);
    wakers[0] = waker_for(t);
    submit(t);
    int a = ex_spawn(wake, (void *)0);
    worker((void *)1);
    ex_join(a);
    EX_ASSERT(ended >= 1);
}
static void abort_it(void *arg)
{
    (void)arg;
    crt_abort(handle);
}
static void abort_while_yielding(void)
{
    setup();
    flags[0] = 1;
    crt_task *t = model_task(yield_run, &(wait_frame){2}, sizeof(wait_frame), true);
    handle = model_handle(t);
    submit(t);
    int a = ex_spawn(abort_it, NULL), b = ex_spawn(worker, (void *)1);
    ex_join(a);
    intptr_t result = -1;
    int e = crt_join_blocking(&handle, &result);
    EX_ASSERT(unwinds + ended == 1);
    EX_ASSERT(e == (unwinds ? CRT_ECANCELED : 0));
    ex_join(b);
}

// --- aborts

static void abort_against_poll(void)
{
    setup();
    crt_task *t = model_task(wait_run, &(wait_frame){1}, sizeof(wait_frame), true);
    handle = model_handle(t);
    wakers[0] = waker_for(t);
    submit(t);
    int a = ex_spawn(wake, (void *)0), b = ex_spawn(worker, (void *)1);
    crt_abort(handle);
    intptr_t result = -1;
    int e = crt_join_blocking(&handle, &result);
    EX_ASSERT(e == 0 ? result == 7 && unwinds == 0 : e == CRT_ECANCELED && unwinds == 1);
    ex_join(a), ex_join(b);
}
// Cancellation is delivered once, so that cleanup may wait: here for a second wake.
static crt_poll slow_cleanup(void *frame, crt_cx *cx)
{
    (void)frame;
    if (crt_take_unwind(cx)) unwinds++;
    if (!unwinds || !crt__atomic_load(&flags[0], RELAXED)) return CRT_PENDING;
    return CRT_UNWIND;
}
static void abort_twice(void)
{
    setup();
    crt_task *t = model_task(slow_cleanup, NULL, 0, true);
    handle = model_handle(t);
    wakers[0] = waker_for(t);
    submit(t);
    int a = ex_spawn(abort_it, NULL), b = ex_spawn(wake, (void *)0), c = ex_spawn(worker, (void *)1);
    crt_abort(handle);
    ex_join(a);
    EX_ASSERT(crt_join_blocking(&handle, NULL) == CRT_ECANCELED);
    EX_ASSERT(unwinds == 1);
    ex_join(b), ex_join(c);
}

// --- joins

// Who finds it finished sees what it did, without a join.
static crt_poll writes_run(void *frame, crt_cx *cx)
{
    (void)frame, (void)cx;
    EX_WRITE(message[0]) = 1;
    return 0;
}
static void asks(void *arg)
{
    if (arg ? crt_is_finished(handle) : crt_abort_handle_is_finished((const crt_abort_handle *)handle))
        EX_ASSERT(EX_READ(message[0]) == 1);
}
static void finished_means_seen(void)
{
    setup();
    crt_task *t = model_task(writes_run, NULL, 0, true);
    handle = model_handle(t);
    submit(t);
    int a = ex_spawn(asks, (void *)1), b = ex_spawn(asks, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    crt_detach(&handle);
}
static void join_by_thread(void)
{
    setup();
    crt_task *t = model_task(wait_run, &(wait_frame){0}, sizeof(wait_frame), true);
    handle = model_handle(t);
    submit(t);
    int a = ex_spawn(worker, (void *)1);
    bool before = crt_is_finished(handle);
    intptr_t result = -1;
    EX_ASSERT(crt_join_blocking(&handle, &result) == 0 && result == 7 && !handle);
    EX_ASSERT(polls == 1 && (!before || ended == 0));
    ex_join(a);
}
// A task joins another one that runs on a second thread of the runtime.
typedef struct join_frame {
    crt_join_handle *other;
    intptr_t result;
} join_frame;
static int joined;   // 1 + the outcome
static crt_poll join_run(void *frame, crt_cx *cx)
{
    join_frame *self = frame;
    crt_poll r = crt_join(cx, &self->other, &self->result);
    if (r == CRT_PENDING) return r;
    if (r == CRT_UNWIND) {
        unwinds++;
        crt_detach(&self->other);
        return r;
    }
    EX_ASSERT(r == 0 && self->result == 7 && !self->other);
    joined = 1;
    return 0;
}
// Polls one task once, as a thread that is no worker's, and lets it complete.
static void complete_elsewhere(void *arg)
{
    crt_task *t = arg;
    (void)crt__task_begin(t);
    crt__task_complete(t, 7, 0);
}
static crt_task *start_joiner(bool join)
{
    crt_task *t = model_task(wait_run, &(wait_frame){0}, sizeof(wait_frame), true);
    join_frame f = {model_handle(t), -1};
    crt_task *j = model_task(join_run, &f, sizeof f, join);
    joined = 0;
    submit(j);
    ex_spawn(complete_elsewhere, t);
    return j;
}
static void join_by_task(void)
{
    setup();
    start_joiner(false);
    worker((void *)1);
    EX_ASSERT(joined == 1);
    ex_join(1);
}
// The joiner is cancelled while the other task completes: its registration holds a reference.
static void abort_the_joiner(void)
{
    setup();
    handle = model_handle(start_joiner(true));
    int a = ex_spawn(abort_it, NULL);
    worker((void *)1);
    ex_join(a), ex_join(1);
    EX_ASSERT(joined + unwinds == 1);
    crt_detach(&handle);
}

// --- failures that nobody sees

static void fail_elsewhere(void *arg)
{
    crt_task *t = arg;
    (void)crt__task_begin(t);
    crt__task_complete(t, CRT_EINVAL, 0);
}
static void detach_against_failure(void)
{
    setup();
    crt_task *t = model_task(wait_run, &(wait_frame){0}, sizeof(wait_frame), true);
    handle = model_handle(t);
    int a = ex_spawn(fail_elsewhere, t);
    crt_detach(&handle);
    ex_join(a);
    EX_ASSERT(logged == 1);   // exactly once
}
static void panic_elsewhere(void *arg)
{
    crt_task *t = arg;
    (void)crt__task_begin(t);
    t->flags |= CRT__TASK_PANICKED;
    crt__task_complete(t, CRT_UNWIND, 0);
}
static void joined_panic(void)
{
    setup();
    crt_task *t = model_task(wait_run, &(wait_frame){0}, sizeof(wait_frame), true);
    handle = model_handle(t);
    int a = ex_spawn(panic_elsewhere, t);
    EX_ASSERT(crt_join_blocking(&handle, NULL) == CRT_EPANIC);
    crt_detach(&handle);
    ex_join(a);
    EX_ASSERT(logged == 0);
}

// --- a dump, which holds an idle task for the moment of its look

static crt_task *looked_at;
static void dump_it(void *arg)
{
    char text[200];
    (void)arg;
    crt__dump_parked(&rt, looked_at, crt__atomic_load(&looked_at->state, ACQUIRE), text, sizeof text);
    crt__task_unref(looked_at, 1);
}
static int dump_of(crt_task *t)
{
    looked_at = t;
    crt__task_ref(t);
    return ex_spawn(dump_it, NULL);
}
static void dump_against_wake(void)
{
    setup();
    crt_task *t = model_task(wait_run, &(wait_frame){1}, sizeof(wait_frame), false);
    wakers[0] = waker_for(t);
    submit(t);
    int a = dump_of(t), b = ex_spawn(wake, (void *)0);
    worker((void *)1);
    ex_join(a), ex_join(b);
}
static void two_dumps_against_wake(void)
{
    setup();
    crt_task *t = model_task(wait_run, &(wait_frame){1}, sizeof(wait_frame), false);
    wakers[0] = waker_for(t);
    submit(t);
    int a = dump_of(t), b = dump_of(t), c = ex_spawn(wake, (void *)0);
    worker((void *)1);
    ex_join(a), ex_join(b), ex_join(c);
}
static void dump_against_abort(void)
{
    setup();
    crt_task *t = model_task(wait_run, &(wait_frame){1}, sizeof(wait_frame), true);
    handle = model_handle(t);
    submit(t);
    int a = dump_of(t), b = ex_spawn(abort_it, NULL);
    worker((void *)1);
    ex_join(a), ex_join(b);
    EX_ASSERT(unwinds == 1 && crt_join_blocking(&handle, NULL) == CRT_ECANCELED);
}
// It looks for a text while the task gets one.
static void reads_text(void *t)
{
    const char *text = crt__ext_text_of(t, CRT__EXT_PANIC);
    if (text) EX_ASSERT(strcmp(text, "why") == 0);
    crt__task_unref(t, 1);
}
static crt_poll text_run(void *frame, crt_cx *cx)
{
    (void)frame;
    crt__ext_add_text(cx->task, CRT__EXT_PANIC, "why", 63);
    return 0;
}
static void dump_against_text(void)
{
    setup();
    crt_task *t = model_task(text_run, NULL, 0, false);
    crt__task_ref(t);
    submit(t);
    int a = ex_spawn(reads_text, t);
    worker((void *)1);
    ex_join(a);
}

// --- memory of the caller's: who is told that it is free may use it for something else

static CRT_TASK_STORAGE(wait_frame) storage;
static void asks_for_storage(void *arg)
{
    (void)arg;
    while (crt_task_storage_busy(&storage)) crt__cpu_relax();
    EX_WRITE(message[0]) = 2;   // what the task was the last to write
}
static void storage_is_free(void)
{
    setup();
    memset(&storage, 0, sizeof storage);
    crt__spawn_how how = {.fn = writes_run, .size = sizeof(wait_frame), .storage = &storage};
    how.storage_size = sizeof storage;
    EX_ASSERT(crt__spawn_task(&rt, NULL, &how) == 0);
    int a = ex_spawn(asks_for_storage, NULL);
    worker((void *)1);
    ex_join(a);
    EX_ASSERT(message[0] == 2 && !rt.chunks);
}

// --- how many are alive: a task that spawned another before it ended is not counted without it

enum { LARGE = 17000 };   // a block of its own
static crt_poll spawns_run(void *frame, crt_cx *cx)
{
    crt__spawn_how how = {.fn = wait_run, .size = LARGE};
    (void)frame;
    EX_ASSERT(crt__spawn_task(&rt, cx->worker, &how) == 0);
    return 0;
}
static void counts(void *arg)
{
    (void)arg;
    uint64_t n = crt__alive(&rt);
    EX_ASSERT(n == 1 || n == 2);
}
static void count_against_end(void)
{
    setup();
    submit(model_task(spawns_run, NULL, 0, false));
    workers[0].spawned = 1;
    int a = ex_spawn(counts, NULL);
    worker((void *)1);
    ex_join(a);
    EX_ASSERT(crt__alive(&rt) == 1);
    worker((void *)2);   // the other wants no flags, its frame is zero
    EX_ASSERT(crt__alive(&rt) == 0);
}

static const model models[] = {
    {.name = "two threads wake a task that is polled", .run = two_wakers},
    {.name = "wakes before, during and after the end", .run = wake_against_end},
    {.name = "the last of three references frees, once", .run = last_reference},
    {.name = "a walk over the slab against the end of a task", .run = walk_against_end, .spurious_cas = 1},
    {.name = "a wake while the task yields", .run = wake_while_yielding},
    {.name = "an abort while the task yields", .run = abort_while_yielding},
    {.name = "abort, wake and poll at once", .run = abort_against_poll},
    {.name = "two aborts deliver one unwind, then cleanup waits", .run = abort_twice},
    {.name = "a thread joins a task that ends", .run = join_by_thread},
    {.name = "a task joins a task that ends", .run = join_by_task},
    {.name = "who finds a task finished sees what it did", .run = finished_means_seen},
    {.name = "a task is aborted while it joins", .run = abort_the_joiner},
    {.name = "detach against a failure: reported exactly once", .run = detach_against_failure},
    {.name = "a panic that was joined is not reported", .run = joined_panic},
    {.name = "a dump against a wake", .run = dump_against_wake},
    {.name = "two dumps against a wake", .run = two_dumps_against_wake},
    {.name = "a dump against an abort", .run = dump_against_abort},
    {.name = "a dump looks for a text while the task gets it", .run = dump_against_text},
    {.name = "the caller's memory is free", .run = storage_is_free},
    {.name = "a look at how many are alive against an end", .run = count_against_end},

    {.name = "seed: a wake that is NOTIFIED already is relaxed", .run = two_wakers,
     .seed = {"crt__task_notify", NULL, MODEL_RELAX, 0, NULL}},
    {.name = "seed: the end of a poll overwrites a wake", .run = two_wakers,
     .seed = {"crt__run_task", "sub &t->state", MODEL_SPLIT, 0, NULL}},
    {.name = "seed: references are counted down relaxed", .run = last_reference,
     .seed = {"crt__task_unref", NULL, MODEL_RELAX, 0, NULL}},
    {.name = "seed: references are counted down in two steps", .run = last_reference,
     .seed = {"crt__task_unref", NULL, MODEL_SPLIT, 0, NULL}},
    {.name = "seed: a waker holds no reference", .run = wake_against_end,
     .seed = {"crt__task_ref", NULL, MODEL_SKIP, 0, NULL}},
    {.name = "seed: a walk does not check that the task lives", .run = walk_against_end,
     .seed = {"crt__task_try_ref", NULL, MODEL_SPLIT, 0, NULL}},
    {.name = "seed: a poll does not see what came while the task was queued", .run = abort_twice,
     .seed = {"crt__task_begin", "load &t->state", MODEL_VALUE, CRT__ACTIVE, NULL}},
    {.name = "seed: a poll takes its wakes in two steps", .run = abort_against_poll,
     .seed = {"crt__task_begin", "sub &t->state", MODEL_SPLIT, 0, NULL}},
    {.name = "seed: a poll does not see what its wakers wrote", .run = two_wakers,
     .seed = {"crt__task_begin", "sub &t->state", MODEL_RELAX, 0, NULL}},
    {.name = "seed: abort overwrites the state", .run = abort_against_poll,
     .seed = {"crt__task_mark_aborted", NULL, MODEL_SPLIT, 0, NULL}},
    {.name = "seed: an unwind is delivered again and again", .run = abort_twice,
     .seed = {"crt__run_task", "or &t->state", MODEL_SKIP, 0, NULL}},
    {.name = "seed: a look whether it is finished has no order", .run = finished_means_seen,
     .seed = {"crt_is_finished", NULL, MODEL_RELAX, 0, NULL}},
    {.name = "seed: complete does not exchange the join word", .run = join_by_task,
     .seed = {"crt__task_tell", "join", MODEL_SPLIT, 0, NULL}},
    {.name = "seed: join registers without looking", .run = join_by_thread,
     .seed = {"crt__join_thread", "t->join", MODEL_SPLIT, 0, NULL}},
    {.name = "seed: a cancelled join forgets to unregister", .run = abort_the_joiner,
     .seed = {"crt__word_unpark", NULL, MODEL_SKIP, 0, NULL}},
    {.name = "seed: detach does not clear JOIN", .run = detach_against_failure,
     .seed = {"crt_detach", NULL, MODEL_SKIP, 0, NULL}},
    {.name = "seed: a dump lets go of a task in two steps", .run = dump_against_wake,
     .seed = {"crt__dump_parked", "sub &t->state", MODEL_SPLIT, 0, NULL}},
    {.name = "seed: a dump takes a task without a look", .run = dump_against_wake,
     .seed = {"crt__dump_parked", "cas &t->state", MODEL_SPLIT, 0, NULL}},
    {.name = "seed: memory is given back without an order", .run = storage_is_free,
     .seed = {"crt__task_release", "store &home->carved", MODEL_RELAX, 0, NULL}},
    {.name = "seed: an end is counted without an order", .run = count_against_end,
     .seed = {"crt__run_task", "store &w->completed", MODEL_RELAX, 0, NULL}},
};
MODEL_MAIN(models)
