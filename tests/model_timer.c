// model_timer.c - timers: the thread that fires against the one that cancels or polls,
// and who tells the thread that sleeps in the driver that it has to wake sooner.
//
// Promise: a timer fires once, not early, not late, or is cancelled; whoever fires it has
// left it alone when its owner goes on. Time moves when a wait's time is up, and that is
// when no thread can run any more, so lateness is somebody's mistake.
#include "model_platform.h"

static uint32_t flag;   // atomic
static int fired, gave_up, unwinds;
static crt_instant fired_at[4];
static crt_join_handle *handle;

static void setup(uint32_t count)
{
    model_runtime(count);
    flag = 0;
    fired = gave_up = unwinds = 0;
    memset(fired_at, 0, sizeof fired_at);
    handle = NULL;
}

// --- one wheel, served by another thread

typedef struct nap {
    int number;
    crt_duration d;
} nap;
static crt_poll nap_run(void *frame, crt_cx *cx)
{
    nap *self = frame;
    crt_poll r = crt_sleep(cx, self->d);
    if (r == CRT_PENDING) return r;
    if (r == CRT_UNWIND) {
        unwinds++;
        return r;
    }
    EX_ASSERT(r == 0 && crt_now(cx) >= self->d);
    fired++;
    fired_at[self->number] = crt_now(cx);
    return 0;
}
static crt_task *start_nap(int number, crt_duration d, bool join)
{
    crt_task *t = model_task(nap_run, &(nap){number, d}, sizeof(nap), join);
    crt__list_push(&workers[0].fifo, t);
    return t;
}
// The thread in the driver; it belongs to no worker here, so its wakes come from outside.
// Time jumps to the next timer.
static void serve(void *arg)
{
    uint64_t naps = (uint64_t)(uintptr_t)arg, next;
    while (crt__atomic_load(&workers[0].completed, RELAXED) < naps) {
        next = crt__atomic_load(&workers[0].wheel.next, ACQUIRE);
        if (next == UINT64_MAX) {
            crt__cpu_relax();
            continue;
        }
        if ((int64_t)next * 1000000 > model_now) model_now = (int64_t)next * 1000000;
        crt__wheels_serve_all(&rt);
    }
}
static void fire_against_poll(void)
{
    setup(1);
    start_nap(0, CRT_MS(1), false);
    int a = ex_spawn(serve, (void *)1);
    model_run_until(&workers[0], 1);
    ex_join(a);
    EX_ASSERT(fired == 1 && workers[0].wheel.next == UINT64_MAX);
}
static void insert_against_fire(void)
{
    setup(1);
    start_nap(0, CRT_MS(1), false);
    start_nap(1, CRT_MS(2), false);
    int a = ex_spawn(serve, (void *)2);
    model_run_until(&workers[0], 2);
    ex_join(a);
    EX_ASSERT(fired == 2 && workers[0].wheel.next == UINT64_MAX && !workers[0].wheel.occupied[0]);
}
// Polled for another reason just while the timer fires: the task may end at once.
static crt_waker waker;
static void stray_wake(void *arg)
{
    (void)arg;
    crt_wake(&waker);
}
static void fire_against_stray_wake(void)
{
    setup(1);
    crt_task *t = start_nap(0, CRT_MS(1), false);
    waker = (crt_waker){&crt__task_waker, t};
    crt__task_ref(t);
    int a = ex_spawn(serve, (void *)1), b = ex_spawn(stray_wake, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    EX_ASSERT(fired == 1 && workers[0].wheel.next == UINT64_MAX);
}
static void aborter(void *arg)
{
    (void)arg;
    crt_abort(handle);
}
static void fire_against_abort(void)
{
    setup(1);
    handle = model_handle(start_nap(0, CRT_MS(1), true));
    int a = ex_spawn(serve, (void *)1), b = ex_spawn(aborter, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    EX_ASSERT(fired + unwinds == 1 && !workers[0].wheel.occupied[0]);
    EX_ASSERT(crt_join_blocking(&handle, NULL) == (fired ? 0 : CRT_ECANCELED));
}
// A time-out: the slot is cancelled by its owner in the middle of a poll, and the task ends.
static crt_poll nap_or_flag(void *frame, crt_cx *cx)
{
    (void)frame;
    if (crt__atomic_load(&flag, RELAXED)) {
        crt__slot_cancel(cx->slot);
        gave_up++;
        return 0;
    }
    crt_poll r = crt_sleep(cx, CRT_MS(1));
    fired += r == 0;
    return r;
}
static void raise_flag(void *arg)
{
    (void)arg;
    crt__atomic_store(&flag, 1, RELAXED);
    crt_wake(&waker);
}
static void fire_against_give_up(void)
{
    setup(1);
    crt_task *t = model_task(nap_or_flag, NULL, 0, false);
    waker = (crt_waker){&crt__task_waker, t};
    crt__task_ref(t);
    crt__list_push(&workers[0].fifo, t);
    int a = ex_spawn(serve, (void *)1), b = ex_spawn(raise_flag, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    EX_ASSERT(fired + gave_up == 1 && !workers[0].wheel.occupied[0]);
}

// --- the thread that waits in the driver, and timers that come meanwhile

static crt_instant deadline_of[4];
// A task of which only the timer matters: parked by hand, like a task that sleeps.
static crt_task *sleepers_of[4];
static void insert(crt__worker *w, int i, crt_duration d)
{
    crt_cx cx;
    model_enter(w, &cx);
    crt_task *t = sleepers_of[i];
    model_poll_begin(&cx, t);
    deadline_of[i] = d;
    EX_ASSERT(crt_sleep_until(&cx, d) == CRT_PENDING);
    if (w->wheel.fresh) crt__timers_settle(w);
    crt__atomic_sub(&t->state, CRT__ACTIVE, ACQ_REL);
    crt__tls.worker = NULL;
}
static void inserter_0(void *arg) { insert(&workers[0], 0, (intptr_t)arg); }
static void inserter_2(void *arg) { insert(&workers[2], 1, (intptr_t)arg); }
static void sleeper(int i)
{
    sleepers_of[i] = model_task(nap_run, NULL, sizeof(nap), false);
    sleepers_of[i]->state = CRT__REF | CRT__ACTIVE;
}
// Worker 1 sits in the driver until `count` timers have fired, each on time.
static void drive(int count)
{
    crt__worker *w = &workers[1];
    crt_cx cx;
    model_enter(w, &cx);
    for (int seen = 0; seen < count;) {
        crt__driver_wait(w, -1);
        for (crt_task *t; (t = crt__ring_pop(w->ring)); seen++) {
            int i = t == sleepers_of[0] ? 0 : t == sleepers_of[1] ? 1 : 2;
            EX_ASSERT(t == sleepers_of[i]);
            EX_ASSERT(model_now >= deadline_of[i]);   // not early
            EX_ASSERT(model_now <= deadline_of[i]);   // not late
            EX_ASSERT(t->u.slot.state == CRT__TIMER_FIRED);
        }
    }
    for (int i = 0; i < 3; i++)
        if (sleepers_of[i]) {
            crt__atomic_and(&sleepers_of[i]->state, ~(uint32_t)(CRT__NOTIFIED | CRT__ACTIVE), ACQ_REL);
            crt__task_unref(sleepers_of[i], 1);
        }
}
static void drive_setup(void)
{
    setup(3);
    memset(sleepers_of, 0, sizeof sleepers_of);
    sleeper(0);
}
static void timer_against_endless_wait(void)
{
    drive_setup();
    int a = ex_spawn(inserter_0, (void *)5000000);
    drive(1);
    ex_join(a);
}
static void timer_against_long_wait(void)
{
    drive_setup();
    sleeper(2);
    insert(&workers[1], 2, 100000000);
    int a = ex_spawn(inserter_0, (void *)5000000);
    drive(2);
    ex_join(a);
}
static void two_timers_against_wait(void)
{
    drive_setup();
    sleeper(1);
    int a = ex_spawn(inserter_0, (void *)5000000), b = ex_spawn(inserter_2, (void *)3000000);
    drive(2);
    ex_join(a), ex_join(b);
}

// --- time that is paused stands still while a job of the pool is under way, and runs on when it has ended

static crt_runtime *life;
static intptr_t job(void *arg)
{
    (void)arg;
    crt__atomic_store(&flag, 1, RELEASE);
    return 0;
}
typedef struct paused_frame {
    bool begun, alone;
} paused_frame;
static crt_poll paused_run(void *frame, crt_cx *cx)
{
    paused_frame *self = frame;
    if (!self->begun) EX_ASSERT(crt_spawn_blocking(cx, NULL, job, NULL) == 0);
    self->begun = true;
    crt_poll r = crt_sleep(cx, CRT_MS(1));
    if (r == 0) EX_ASSERT(crt__atomic_load(&flag, ACQUIRE) && crt_now(cx) == CRT_MS(1));
    return r;
}
static void paused_against_job(void)
{
    crt_config c = {.flavor = CRT_CURRENT_THREAD, .max_blocking_threads = 1, .start_paused = true, .seed = 1};
    setup(1);   // for the log and the reactor; its runtime is not used
    model_reactor = &reactor;
    c.drivers = CRT_DRIVER_IO | CRT_DRIVER_TIME;
    c.log.func = model_log;
    EX_ASSERT(crt_runtime_new(&c, &life) == 0);
    life->pool.spin_most = 0;   // where no time passes, a wait for a job would seem short, and be spun through
    EX_ASSERT(crt_block_on(life, paused_run, &(paused_frame){0}) == 0);
    crt_runtime_drop(&life);
}

static const model models[] = {
    {.name = "fire against poll", .run = fire_against_poll},
    {.name = "fire against a poll for another reason", .run = fire_against_stray_wake},
    {.name = "insert against fire", .run = insert_against_fire},
    {.name = "fire against abort", .run = fire_against_abort},
    {.name = "fire against a wait that is given up", .run = fire_against_give_up},
    {.name = "a timer comes while the driver waits for ever", .run = timer_against_endless_wait, .timeouts = -1},
    {.name = "a timer comes while the driver waits for a later one", .run = timer_against_long_wait, .timeouts = -1},
    {.name = "two workers insert timers while the driver waits", .run = two_timers_against_wait, .timeouts = -1},
    {.name = "paused time against a job", .run = paused_against_job, .timeouts = -1},

    {.name = "seed: the owner goes on without taking the lock", .run = fire_against_stray_wake,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, &workers[0].wheel.lock, 1}},
    {.name = "seed: cancelling takes no lock", .run = fire_against_give_up,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, &workers[0].wheel.lock, 1}},
    {.name = "seed: the inserter does not look at the driver", .run = timer_against_long_wait, .timeouts = -1,
     .seed = {"crt__timers_announce", "load &rt->driver_parked", MODEL_VALUE, 0, NULL, 0}},
    {.name = "seed: the driver does not say that it waits", .run = timer_against_endless_wait, .timeouts = -1,
     .seed = {"crt__driver_wait", "store &rt->driver_parked", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: the driver does not say for how long", .run = timer_against_long_wait, .timeouts = -1,
     .seed = {"crt__driver_wait", "store &rt->driver_until", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: the wheel does not say what comes next", .run = two_timers_against_wait, .timeouts = -1,
     .seed = {"crt__wheel_insert", "store &w->next", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: paused time does not wait for jobs", .run = paused_against_job, .timeouts = -1,
     .seed = {"crt__virtual_idle", "load &rt->pool.outstanding", MODEL_VALUE, 0, NULL, 0}},
    {.name = "seed: the last job does not wake who waits for it", .run = paused_against_job, .timeouts = -1,
     .seed = {"crt__job_ended", "load &rt->clock_paused", MODEL_VALUE, 0, NULL, 0}},
};
MODEL_MAIN(models)
