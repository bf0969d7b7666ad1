// model_shutdown.c - the end of a runtime whose time is up: tasks that do not end by themselves are ended by force.
//
// Promise: each of them ends exactly once, by itself or by force, wherever it is at that moment: idle, in a queue, on
// its way into one, held by a dump, or polled by a thread that has given its worker away (crt_block_in_place); who
// joins hears of it, and the shutdown counts it; the task of crt_block_on ends after the others; a poll that comes
// back too late ends what is left; a scope's opener ends after who is at its end in there; a drop waits for another thread's shutdown; nobody touches what is gone, and all
// memory is freed.
// Whole runtimes, as in model_runtime.c. A task that is unwound and goes on waiting is what is left over.
#include "model_platform.h"

static crt_runtime *life;
static crt_handle *handle;
static crt_notify notify;
static crt_join_handle *join;
static uint32_t may_return;   // atomic: for what blocks in place
static int terminated, unwinds;
static bool ends_at_once;   // told to unwind before it began
static FILE *null;

static crt_scope *scope;      // in the memory of its opener, and gone as soon as that has ended
static uint64_t opener_id;
static void terminates(void *data, const crt_task_meta *task)
{
    (void)data;
    terminated++;
    if (!scope || task->id != opener_id) return;
    ex_free(scope);
    scope = NULL;
}
static void begin(bool multi)
{
    crt_config c = {0};
    model_runtime(1);   // for the log and the reactor; its runtime is not used
    memset(&notify, 0, sizeof notify);
    join = NULL;
    may_return = 0;
    terminated = unwinds = 0;
    ends_at_once = false;
    model_reactor = &reactor;
    c.flavor = multi ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD;
    c.worker_threads = 1;
    c.max_blocking_threads = 2;
    c.seed = 1;   // else it comes from an address, and a failure could not be replayed
    c.drivers = CRT_DRIVER_IO | CRT_DRIVER_TIME;
    c.log.func = model_log;
    c.on_task_terminate = terminates;
    EX_ASSERT(crt_runtime_new(&c, &life) == 0);
    life->pool.spin_most = 0;   // where no time passes, a wait for a job would seem short, and be spun through
    handle = crt_runtime_handle(life);
}
// Told to unwind it goes on with its wait: it ends by a notification, or by force.
static crt_poll stubborn_run(void *frame, crt_cx *cx)
{
    (void)frame;
    if (crt_take_unwind(cx)) unwinds++;
    crt_poll r = crt_notified(cx, &notify);
    return r == 0 ? 7 : r;
}
static void start(crt_fn fn, uint32_t flags)
{
    crt__spawn_how how = {.fn = fn, .join = &join, .flags = flags};
    EX_ASSERT(crt__spawn_task(life, NULL, &how) == 0);
}
static void let_return(void)
{
    crt__atomic_store(&may_return, 1, RELEASE);
    crt__futex_wake(&may_return, INT_MAX);
}
// The end: without any time. Whoever is still at it has the runtime's memory until it leaves.
static void end(void)
{
    intptr_t result = 0;
    int left = crt_runtime_shutdown(life, 0);
    let_return();
    int e = crt_join_blocking(&join, &result);
    EX_ASSERT(e == 0 ? result == 7 : e == CRT_ECANCELED);
    EX_ASSERT(terminated == 1 && unwinds <= 1);
    EX_ASSERT(left == 1 || (left == 0 && (e == 0 || ends_at_once)));
    crt_runtime_drop(&life);
}

// --- a wake from outside

static void notify_it(void *arg)
{
    (void)arg;
    crt_notify_one(&notify);
    crt_handle_drop(&handle);
}
static void wake_against_end(bool multi, uint32_t flags)
{
    begin(multi);
    start(stubborn_run, flags);
    int a = ex_spawn(notify_it, NULL);
    end();
    ex_join(a);
}
static void wake_current(void) { wake_against_end(false, 0); }
static void wake_multi(void) { wake_against_end(true, 0); }
static void wake_urgent(void) { wake_against_end(false, CRT__TASK_URGENT); }
static void wake_pinned(void) { wake_against_end(true, CRT__TASK_PINNED); }   // to worker 0

// --- a dump holds a task for the moment of its look

static void dump_it(void *arg)
{
    (void)arg;
    EX_ASSERT(crt_dump((crt_runtime *)handle, null) <= 1);
    crt_handle_drop(&handle);
}
static void dump_against_end(void)
{
    begin(false);
    if (!null) null = fopen("/dev/null", "w");
    start(stubborn_run, 0);
    int a = ex_spawn(dump_it, NULL);
    end();
    ex_join(a);
}

// --- a poll that gave its worker away

static intptr_t block(void *arg)
{
    (void)arg;
    while (!crt__atomic_load(&may_return, ACQUIRE)) crt__futex_wait(&may_return, 0, -1);
    return 7;
}
static crt_poll in_place_run(void *frame, crt_cx *cx)
{
    (void)frame;
    if (crt_take_unwind(cx)) return ends_at_once = true, CRT_UNWIND;   // before it has begun
    return crt_block_in_place(cx, block, NULL);
}
static void in_place_against_end(void)
{
    begin(true);
    crt_handle_drop(&handle);
    start(in_place_run, 0);
    end();
}

// --- likewise of a task in a scope, whose opener is ended by force meanwhile

static crt_poll opener_run(void *frame, crt_cx *cx)
{
    (void)frame;
    opener_id = crt_task_id(cx);
    if (!scope) scope = ex_calloc(1, sizeof *scope);
    return crt_scope_run(cx, scope, crt_scope_spawn(cx, scope, in_place_run, &(crt_frame){0}));
}
static void scope_against_end(bool soon)
{
    begin(true);
    may_return = soon;
    crt_handle_drop(&handle);
    start(opener_run, 0);
    int left = crt_runtime_shutdown(life, 0);
    let_return();
    EX_ASSERT(left >= 0 && left <= 2);
    EX_ASSERT(crt_join_blocking(&join, NULL) <= 0);
    crt_runtime_drop(&life);
    EX_ASSERT(!scope && terminated >= 1 && terminated <= 2);
}
static void in_scope_against_end(void) { scope_against_end(false); }
static void in_scope_soon(void) { scope_against_end(true); }   // it returns by itself

// --- crt_block_on in another thread, whose task blocks in place, or in its poll

static bool root_begun;
static crt_poll root_in_place_run(void *frame, crt_cx *cx)
{
    (void)frame;
    (void)crt_take_unwind(cx);
    if (!root_begun) root_begun = true, (void)crt_block_in_place(cx, block, NULL);
    return crt_notified(cx, &notify);
}
static crt_poll root_in_poll_run(void *frame, crt_cx *cx)
{
    (void)frame;
    (void)crt_take_unwind(cx);
    // The shutdown drives itself if nobody does: who is to let it return cannot wait for that.
    if (!root_begun && ex_self() != 0) (void)block(NULL);
    root_begun = true;
    return crt_notified(cx, &notify);
}
// The others may wait in what lies in the frame: all but the root have been told by now.
static void block_on_it(void *in_place)
{
    int e = crt_handle_block_on(handle, in_place ? root_in_place_run : root_in_poll_run, NULL);
    EX_ASSERT(e == CRT_ECANCELED || e == CRT_ESHUTDOWN);
    if (root_begun) EX_ASSERT(terminated == 2);
    crt_handle_drop(&handle);
}
static void root_against_end(bool multi)
{
    begin(multi);
    root_begun = false;
    start(stubborn_run, 0);
    int a = ex_spawn(block_on_it, multi ? life : NULL);
    int left = crt_runtime_shutdown(life, 0);
    EX_ASSERT(left >= 1 && left <= 2);
    let_return();
    EX_ASSERT(crt_join_blocking(&join, NULL) == CRT_ECANCELED);
    ex_join(a);
    crt_runtime_drop(&life);
}
static void root_in_place(void) { root_against_end(true); }
static void root_in_poll(void) { root_against_end(false); }

// --- a drop while another thread shuts down

static crt_poll waits_run(void *frame, crt_cx *cx)
{
    (void)frame;
    return crt_notified(cx, &notify);
}
static void shut_it_down(void *runtime)
{
    EX_ASSERT(crt_runtime_shutdown(runtime, 0) <= 1);
    crt_handle_drop(&handle);
}
static void drop_against_shutdown(bool multi)
{
    begin(multi);
    start(waits_run, 0);
    int a = ex_spawn(shut_it_down, life);
    crt_runtime_drop(&life);   // whichever comes first; a shutdown without time may leave a worker behind
    EX_ASSERT(life == NULL && terminated <= 1);
    EX_ASSERT(crt_join_blocking(&join, NULL) == CRT_ECANCELED && terminated == 1);
    ex_join(a);
}
static void drop_current(void) { drop_against_shutdown(false); }
static void drop_multi(void) { drop_against_shutdown(true); }

static const model models[] = {
    {.name = "a wake from outside against the end, current thread", .run = wake_current, .timeouts = -1},
    {.name = "a wake from outside against the end, one worker", .run = wake_multi, .timeouts = -1},
    {.name = "a wake of an urgent task against the end", .run = wake_urgent, .timeouts = -1},
    {.name = "a wake of a pinned task against the end", .run = wake_pinned, .timeouts = -1},
    {.name = "a dump against the end", .run = dump_against_end, .timeouts = -1},
    {.name = "a poll in place against the end", .run = in_place_against_end, .timeouts = -1},
    {.name = "a poll in place in a scope against the end", .run = in_scope_against_end, .timeouts = -1},
    {.name = "the end of crt_block_on that blocks in place", .run = root_in_place, .timeouts = -1},
    {.name = "the end of crt_block_on that blocks in its poll", .run = root_in_poll, .timeouts = -1},
    {.name = "a drop against another thread's shutdown, current thread", .run = drop_current, .timeouts = -1},
    {.name = "a drop against another thread's shutdown, one worker", .run = drop_multi, .timeouts = -1},

    {.name = "seed: who pushes does not look whether it is too late", .run = wake_current, .timeouts = -1,
     .seed = {"crt__submit_remote", "load &rt->ended", MODEL_VALUE, 0, NULL, 0}},
    {.name = "seed: who pushes to a pinned task's worker does not look", .run = wake_pinned, .timeouts = -1,
     .seed = {"crt__submit_pinned", "load &rt->ended", MODEL_VALUE, 0, NULL, 0}},
    {.name = "seed: a task is ended where it sits without a look", .run = wake_current, .timeouts = -1,
     .seed = {"crt__end_leftovers", "cas &t->state", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: an opener ends before who still ends in its scope", .run = in_scope_soon, .timeouts = -1,
     .seed = {"crt__end_leftovers", "load &rt->ending", MODEL_VALUE, 0, NULL, 0}},
    {.name = "seed: a dump does not look whether it is too late", .run = dump_against_end, .timeouts = -1,
     .seed = {"crt__dump_parked", "load &rt->ended", MODEL_VALUE, 0, NULL, 0}},
};
MODEL_MAIN(models)
