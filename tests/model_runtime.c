// model_runtime.c - a whole runtime, from crt_runtime_new to the last free, against threads
// that are still busy with it.
//
// Promise: dropping a runtime ends its tasks and threads and frees its memory, once, and not
// before everybody has left it: a thread that wakes a task, spawns, joins or drops a handle
// at that moment touches nothing that has been freed.
// Nothing here is built by hand; memory, threads and the reactor are the explorer's.
#include "model_platform.h"

static crt_runtime *life;
static crt_notify notify;
static crt_handle *handle;
static crt_join_handle *join;
static int outcome, ends;

static void begin(bool multi, int workers_count)
{
    crt_config c = {0};
    model_runtime(1);   // for the log and the reactor; its runtime is not used
    memset(&notify, 0, sizeof notify);
    handle = NULL;
    join = NULL;
    outcome = ends = 0;
    model_reactor = &reactor;
    c.flavor = multi ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD;
    c.worker_threads = workers_count;
    c.max_blocking_threads = 2;
    c.seed = 1;   // else it comes from an address, and a failure could not be replayed
    c.log.func = model_log;
    EX_ASSERT(crt_runtime_new(&c, &life) == 0);
}

typedef struct wait_frame {
    int unused;
} wait_frame;
static crt_poll wait_run(void *frame, crt_cx *cx)
{
    (void)frame;
    crt_poll r = crt_notified(cx, &notify);
    if (r != CRT_PENDING) ends++;
    return r == 0 ? 7 : r;
}

// --- somebody wakes the root task; by then the runtime may be on its way out

static void notify_it(void *arg)
{
    (void)arg;
    crt_notify_one(&notify);
}
static void wake_against_drop(bool multi)
{
    wait_frame f = {0};
    begin(multi, 1);
    int a = ex_spawn(notify_it, NULL);
    EX_ASSERT(crt_block_on(life, wait_run, &f) == 7);
    crt_runtime_drop(&life);
    ex_join(a);
}
static void wake_against_drop_current(void) { wake_against_drop(false); }
static void wake_against_drop_multi(void) { wake_against_drop(true); }

// --- a thread spawns through a handle while the runtime shuts down

static void spawn_it(void *arg)
{
    wait_frame f = {0};
    (void)arg;
    int e = crt_handle_spawn_join(handle, &join, wait_run, &f);
    EX_ASSERT(e == 0 ? join != NULL : e == CRT_ESHUTDOWN && !join);
    crt_handle_drop(&handle);
    if (e == 0) {
        // The notification does not come, so the task ends by the shutdown.
        EX_ASSERT(crt_join_blocking(&join, NULL) == CRT_ECANCELED);
        outcome = 1;
    }
}
static void spawn_against_drop(bool multi)
{
    begin(multi, 1);
    handle = crt_runtime_handle(life);
    int a = ex_spawn(spawn_it, NULL);
    crt_runtime_drop(&life);
    ex_join(a);
    EX_ASSERT(ends == 0 || outcome == 1);
}
static void spawn_against_drop_current(void) { spawn_against_drop(false); }
static void spawn_against_drop_multi(void) { spawn_against_drop(true); }

// --- the last reference to a task, after its runtime or with it

static void detach_it(void *arg)
{
    (void)arg;
    crt_detach(&join);
}
static void detach_against_drop(void)
{
    wait_frame f = {0};
    begin(false, 1);
    EX_ASSERT(crt__handle_spawn((crt_handle *)life, &join, wait_run, &f, sizeof f, NULL) == 0);
    int a = ex_spawn(detach_it, NULL);
    crt_runtime_drop(&life);
    ex_join(a);
    EX_ASSERT(ends <= 1);
}

// --- a blocking job

static intptr_t job(void *arg) { return (intptr_t)arg + 1; }
static void join_job(void *arg)
{
    intptr_t result = 0;
    (void)arg;
    int e = crt_join_blocking(&join, &result);
    EX_ASSERT(e == 0 ? result == 42 : e == CRT_ECANCELED);
}
static void job_against_drop(void)
{
    begin(false, 1);
    EX_ASSERT(crt_handle_spawn_blocking((crt_handle *)life, &join, job, (void *)41) == 0);
    int a = ex_spawn(join_job, NULL);
    crt_runtime_drop(&life);
    ex_join(a);
}

// --- two threads shut down at once

static void shut_down(void *arg)
{
    (void)arg;
    EX_ASSERT(crt_runtime_shutdown((crt_runtime *)handle, CRT_FOREVER) == 0);
    crt_handle_drop(&handle);
}
static void two_shutdowns(void)
{
    wait_frame f = {0};
    begin(true, 1);
    handle = crt_runtime_handle(life);
    EX_ASSERT(crt__handle_spawn((crt_handle *)life, NULL, wait_run, &f, sizeof f, NULL) == 0);
    int a = ex_spawn(shut_down, NULL);
    crt_runtime_drop(&life);
    ex_join(a);
    EX_ASSERT(ends <= 1);
}

// --- another loop drives it turn by turn, and waits for its poll descriptor: the reactor's word

static void turns_against_wake(void)
{
    wait_frame f = {0};
    intptr_t result = 0;
    begin(false, 1);
    EX_ASSERT(crt__handle_spawn((crt_handle *)life, &join, wait_run, &f, sizeof f, NULL) == 0);
    int a = ex_spawn(notify_it, NULL);
    while (!crt_is_finished(join)) {
        if (crt_runtime_next_deadline(life) != 0)
            while (!crt__atomic_load(&reactor.signal, ACQUIRE)) crt__futex_wait(&reactor.signal, 0, -1);
        EX_ASSERT(crt_runtime_turn(life, 0) >= 0);
        crt__cpu_relax();   // a producer may be between its two steps
    }
    EX_ASSERT(crt_join_blocking(&join, &result) == 0 && result == 7);
    ex_join(a);
    crt_runtime_drop(&life);
}
// Two threads would drive: one is refused, and no wake is lost for it.
static void turn(void *arg)
{
    (void)arg;
    int n = crt_runtime_turn((crt_runtime *)handle, 0);
    EX_ASSERT(n >= 0 || n == CRT_EBUSY || n == CRT_ESHUTDOWN);
    crt_handle_drop(&handle);
}
static void turn_against_drop(void)
{
    wait_frame f = {0};
    begin(false, 1);
    handle = crt_runtime_handle(life);
    EX_ASSERT(crt__handle_spawn((crt_handle *)life, NULL, wait_run, &f, sizeof f, NULL) == 0);
    int a = ex_spawn(turn, NULL);
    crt_runtime_drop(&life);
    ex_join(a);
    EX_ASSERT(ends == 1);
}

// --- a wait of another runtime (the model's own) on a socket of one that ends
// Close, event with drop, and the wait, which goes on or is given up: in every order, and the
// record is there as long as somebody looks at it.

static crt__sock *sock;
static model_hand *guest;
static char byte;

static intptr_t kernel_recv(void *buf, size_t n)
{
    (void)buf, (void)n;
    errno = EAGAIN;
    return -1;
}
static crt_poll poll_abroad(void) { return crt_read(&guest->cx, (crt_stream *)sock, &byte, 1); }
static void close_sock(void *arg)
{
    (void)arg;
    crt__sock_unref(sock);
}
// Who is in the driver of that runtime, and then ends it. The readiness is none.
static void event_and_drop(void *arg)
{
    crt__io_event(life, (uint64_t)(uintptr_t)arg, CRT__READABLE);
    crt_runtime_drop(&life);
}
static void abroad_begin(int *a, int *b)
{
    begin(false, 1);
    reactor.recv = kernel_recv;
    EX_ASSERT(crt__sock_new(life, 3, 0, &sock) == 0);
    guest = model_hand_new();
    EX_ASSERT(poll_abroad() == CRT_PENDING);
    uint64_t token = crt__sock_token(sock);
    *a = ex_spawn(close_sock, NULL);
    *b = ex_spawn(event_and_drop, (void *)(uintptr_t)token);
}
static void abroad_end(int a, int b)
{
    ex_join(a), ex_join(b);
    EX_ASSERT(!guest->me.task.u.slot.op);
    model_hand_free(guest);
}
static void abroad_goes_on(void)
{
    crt_poll r;
    int a, b;
    abroad_begin(&a, &b);
    MODEL_AWAIT(guest, r, poll_abroad());
    EX_ASSERT(r == CRT_ECLOSED || r == CRT_ESHUTDOWN);
    abroad_end(a, b);
}
static void abroad_is_given_up(void)
{
    int a, b;
    abroad_begin(&a, &b);
    crt_poll r = poll_abroad();
    EX_ASSERT(r == CRT_PENDING || r == CRT_ECLOSED || r == CRT_ESHUTDOWN);
    if (r == CRT_PENDING) EX_ASSERT(MODEL_GIVE_UP(guest, r, poll_abroad()) == CRT_UNWIND);
    abroad_end(a, b);
}
// A mistake of the model's own: woken, the wait gives its reference back before it looks.
static void abroad_returns_early(void)
{
    crt_poll r;
    int a, b;
    abroad_begin(&a, &b);
    model_hand_sleep(guest);
    crt__io_return(sock, &guest->me.task.u.slot);
    MODEL_AWAIT(guest, r, poll_abroad());
    abroad_end(a, b);
}

static const model models[] = {
    {.name = "a wake from outside against drop, current thread", .run = wake_against_drop_current},
    {.name = "a wake from outside against drop, one worker", .run = wake_against_drop_multi},
    {.name = "a spawn from outside against drop, current thread", .run = spawn_against_drop_current},
    {.name = "a spawn from outside against drop, one worker", .run = spawn_against_drop_multi},
    {.name = "a join handle is dropped with the runtime", .run = detach_against_drop},
    {.name = "a blocking job against drop", .run = job_against_drop},
    {.name = "two threads shut down", .run = two_shutdowns},
    {.name = "turn by turn, a wake from outside", .run = turns_against_wake},
    {.name = "a turn against drop", .run = turn_against_drop},
    {.name = "a wait from abroad against close, event and drop", .run = abroad_goes_on},
    {.name = "a wait from abroad is given up, against the same", .run = abroad_is_given_up},

    {.name = "seed: a handle holds no reference", .run = spawn_against_drop_current,
     .seed = {"crt_handle_clone", NULL, MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: a spawn does not look again whether the runtime closes", .run = spawn_against_drop_current,
     .seed = {"crt__spawn_task", "load &rt->closing", MODEL_VALUE, 0, NULL, 0}},
    {.name = "seed: no fence between closing and the walk over the tasks", .run = spawn_against_drop_current,
     .seed = {"crt__abort_all", "fence", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: the memory is freed by whoever counts last, in two steps", .run = two_shutdowns,
     .seed = {"crt__rt_unref", "&rt->refs", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: after a turn nobody says that nobody drives", .run = turns_against_wake,
     .seed = {"crt_runtime_turn", "store &w->park", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: a wait from abroad takes no reference", .run = abroad_is_given_up,
     .seed = {"crt__io_abroad", "add &s->rt->refs", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: a wait from abroad gives its reference back too early", .run = abroad_returns_early,
     .must_fail = true},
};
MODEL_MAIN(models)
