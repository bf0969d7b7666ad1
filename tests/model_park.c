// model_park.c - sleep against wake: the park word, the idle set, the driver.
//
// Promise: who makes work visible and who goes to sleep see one another, so that no
// task waits while a worker sleeps that could run it. A lost wake-up shows as a deadlock,
// or as executions that do not end.
#include "model_platform.h"

static uint32_t ran[4];   // atomic: tasks that have been polled
static crt_task *held[4];
static uint32_t pending;  // atomic: events that the reactor has still to deliver, as bits
static uint32_t going;    // atomic: tasks that have not ended

// --- the park word alone

static uint32_t work;   // atomic
static void setup(uint32_t count)
{
    model_runtime(count);
    memset(ran, 0, sizeof ran);
    memset(held, 0, sizeof held);
    pending = work = going = 0;
}
static void unpark_with_work(void *arg)
{
    (void)arg;
    crt__atomic_add(&work, 1, RELAXED);   // the unpark alone has to publish it
    crt__unpark(&workers[0]);
}
static void unpark_against_futex(void)
{
    setup(2);
    int a = ex_spawn(unpark_with_work, NULL), b = ex_spawn(unpark_with_work, NULL);
    while (crt__atomic_load(&work, RELAXED) < 2) model_park(&workers[0]);
    ex_join(a), ex_join(b);
}
static void unpark_against_driver(bool io)
{
    setup(1);
    if (!io) rt.reactor = NULL;
    int a = ex_spawn(unpark_with_work, NULL), b = ex_spawn(unpark_with_work, NULL);
    while (crt__atomic_load(&work, RELAXED) < 2) crt__driver_wait(&workers[0], -1);
    ex_join(a), ex_join(b);
}
static void unpark_against_reactor(void) { unpark_against_driver(true); }
static void unpark_without_reactor(void) { unpark_against_driver(false); }

// --- the idle set: what it counts stays true

static void check_idle_set(void)
{
    uint32_t unparked = 0, searching = 0;
    for (uint32_t i = 0; i < rt.worker_count; i++) {
        unparked += !workers[i].sleeping;
        searching += workers[i].searching;
    }
    EX_ASSERT(rt.idle.word == (unparked << 16 | searching));
    EX_ASSERT(rt.idle.count == rt.worker_count - unparked);
}
static void enter_and_leave(void *arg)
{
    crt__worker *w = arg;
    crt__search_begin(w);
    crt__idle_enter(w);
    if (!crt__idle_leave(w)) w->searching = true;   // notified
    if (w->searching) crt__search_end(w);
}
static void notify(void *arg)
{
    (void)arg;
    crt__notify_one(&rt);
}
static void idle_set(void)
{
    setup(3);
    int a = ex_spawn(enter_and_leave, &workers[1]), b = ex_spawn(enter_and_leave, &workers[2]);
    int c = ex_spawn(notify, NULL);
    ex_join(a), ex_join(b), ex_join(c);
    check_idle_set();
    EX_ASSERT(rt.idle.word == 3 << 16);
}

// --- a task from outside against a worker that goes to sleep

static void task_ended(void)
{
    if (crt__atomic_sub(&going, 1, ACQ_REL) == 1) crt__stop_workers(&rt);
}
typedef struct frame {
    int number;
    int wakes;      // held tasks to wake first: number + 1 ... number + wakes
    int long_poll;  // then do not return before that one has run (0: return)
} frame;
static crt_poll run(void *p, crt_cx *cx)
{
    frame *f = p;
    (void)cx;
    for (int i = 1; i <= f->wakes; i++) crt__task_wake(held[f->number + i]);
    crt__atomic_store(&ran[f->number], 1, RELEASE);
    while (f->long_poll && !crt__atomic_load(&ran[f->long_poll], ACQUIRE)) crt__cpu_relax();
    task_ended();
    return 0;
}
static crt_task *task(frame f)
{
    going++;
    return model_task(run, &f, sizeof f, false);
}
// A task that sits idle until somebody wakes it.
static void hold(frame f)
{
    held[f.number] = task(f);
    held[f.number]->state &= ~(uint32_t)(CRT__NOTIFIED | CRT__ACTIVE);
}
static void all_ran(int n)
{
    for (int i = 0; i < n; i++) EX_ASSERT(ran[i] == 1);
    EX_ASSERT(crt__injected(&rt) == 0);
}
static void submit(void *t) { crt__submit(t); }
static void loop(void *w) { crt__worker_loop(w); }

// The other worker is busy for good: nobody else will come.
static void submit_against_park(void)
{
    setup(2);
    int a = ex_spawn(submit, task((frame){.number = 0}));
    crt__worker_loop(&workers[1]);
    ex_join(a);
    all_ran(1);
}
static void two_submits_against_park(void)
{
    setup(2);
    int a = ex_spawn(submit, task((frame){.number = 0})), b = ex_spawn(submit, task((frame){.number = 1}));
    crt__worker_loop(&workers[1]);
    ex_join(a), ex_join(b);
    all_ran(2);
}
static void two_workers(void)
{
    setup(2);
    int a = ex_spawn(loop, &workers[0]), b = ex_spawn(loop, &workers[1]);
    submit(task((frame){.number = 0}));
    ex_join(a), ex_join(b);
    all_ran(1);
}

// --- a long poll, and an idle worker beside it

static void long_poll(bool lifo)
{
    setup(2);
    for (int i = 0; i < 2; i++) workers[i].lifo_off = !lifo;
    hold((frame){.number = 1});
    int a = ex_spawn(loop, &workers[1]);
    // Worker 0 runs a task that wakes the other one and does not end before that has run.
    crt__list_push(&workers[0].fifo, task((frame){.number = 0, .wakes = 1, .long_poll = 1}));
    crt__worker_loop(&workers[0]);
    ex_join(a);
    all_ran(2);
}
static void pushed_beside_long_poll(void) { long_poll(false); }
static void lifo_beside_long_poll(void) { long_poll(true); }
// Both workers sleep, one of them in the driver and without a limit, when the long poll comes.
static void lifo_while_all_sleep(void)
{
    setup(2);
    hold((frame){.number = 1});
    int a = ex_spawn(loop, &workers[1]), b = ex_spawn(loop, &workers[0]);
    submit(task((frame){.number = 0, .wakes = 1, .long_poll = 1}));
    ex_join(a), ex_join(b);
    all_ran(2);
}

// --- the driver is handed over before a task runs

static int deliver(crt_runtime *runtime)
{
    (void)runtime;
    int n = 0;
    uint32_t bits = crt__atomic_xchg(&pending, 0, ACQ_REL);
    for (int i = 0; i < 4; i++)
        if (bits & 1u << i) crt__task_wake(held[i]), n++;
    return n;
}
static void event(uint32_t bit)
{
    crt__atomic_or(&pending, bit, ACQ_REL);
    crt__reactor_wake(&reactor);
}
static void two_events(void *arg)
{
    (void)arg;
    event(1);
    event(2);
}
static void event_beside_long_poll(void)
{
    setup(2);
    reactor.events = deliver;
    rt.fd_registered = 1;
    hold((frame){.number = 0, .long_poll = 1});   // ends only after the task of the other event
    hold((frame){.number = 1});
    int a = ex_spawn(two_events, NULL), b = ex_spawn(loop, &workers[1]);
    crt__worker_loop(&workers[0]);
    ex_join(a), ex_join(b);
    all_ran(2);
}

// --- current thread: whoever calls drives

typedef struct root_frame {
    uint32_t *flag;
} root_frame;
static crt_poll root_run(void *p, crt_cx *cx)
{
    root_frame *f = p;
    (void)cx;
    return crt__atomic_load(f->flag, RELAXED) ? 5 : CRT_PENDING;
}
static uint32_t flags[2];
static crt_task *roots[2];
static void root(int i)
{
    flags[i] = 0;
    root_frame f = {&flags[i]};
    roots[i] = model_task(root_run, &f, sizeof f, true);
    roots[i]->flags |= CRT__TASK_ROOT;
}
static void block_on(void *arg)
{
    intptr_t i = (intptr_t)arg, result = 0;
    crt_join_handle *h = model_handle(roots[i]);
    crt__submit(roots[i]);
    crt__drive_until(&rt, &roots[i]->join);
    EX_ASSERT(crt_join_blocking(&h, &result) == 0 && result == 5);
}
static void wake_root(int i)
{
    crt__atomic_store(&flags[i], 1, RELAXED);
    crt__task_wake(roots[i]);
    crt__task_unref(roots[i], 1);
}
static void wake_root_0(void *arg)
{
    (void)arg;
    wake_root(0);
}
static void block_on_against_wake(bool io)
{
    setup(1);
    if (!io) rt.reactor = NULL;
    root(0);
    crt__task_ref(roots[0]);   // the waker's
    int a = ex_spawn(wake_root_0, NULL);
    block_on((void *)0);
    ex_join(a);
}
static void block_on_with_reactor(void) { block_on_against_wake(true); }
static void block_on_without_reactor(void) { block_on_against_wake(false); }
// The second root is woken only after the first thread has returned: it must learn that its
// root has ended while the second thread goes on driving.
static void two_block_on(void)
{
    setup(1);
    for (int i = 0; i < 2; i++) {
        root(i);
        crt__task_ref(roots[i]);
    }
    int a = ex_spawn(block_on, (void *)1), b = ex_spawn(wake_root_0, NULL);
    block_on((void *)0);
    wake_root(1);
    ex_join(a), ex_join(b);
}

static const model models[] = {
    {.name = "unpark against a park on the futex", .run = unpark_against_futex, .spurious_wakes = 1},
    {.name = "unpark against a park in the reactor", .run = unpark_against_reactor, .spurious_wakes = 1},
    {.name = "unpark against a park without a reactor", .run = unpark_without_reactor, .spurious_wakes = 1},
    {.name = "the idle set counts right", .run = idle_set},
    {.name = "a task from outside against a worker going to sleep", .run = submit_against_park},
    {.name = "two tasks from outside against one worker", .run = two_submits_against_park},
    {.name = "a task from outside against two workers", .run = two_workers},
    {.name = "a task pushed beside a long poll", .run = pushed_beside_long_poll},
    {.name = "a task in the LIFO slot beside a long poll", .run = lifo_beside_long_poll},
    {.name = "the same while all workers sleep", .run = lifo_while_all_sleep},
    {.name = "an event beside a long poll", .run = event_beside_long_poll},
    {.name = "block_on with a reactor", .run = block_on_with_reactor},
    {.name = "block_on without a reactor", .run = block_on_without_reactor},
    {.name = "two threads in block_on", .run = two_block_on},

    {.name = "seed: unpark does not exchange", .run = unpark_against_futex,
     .seed = {"crt__unpark", "xchg &w->park", MODEL_SPLIT, 0, NULL}},
    {.name = "seed: unpark has no order", .run = unpark_against_futex,
     .seed = {"crt__unpark", "xchg &w->park", MODEL_RELAX, 0, NULL}},
    {.name = "seed: parking overwrites a notification", .run = unpark_against_reactor,
     .seed = {"crt__driver_wait", "cas &w->park", MODEL_SKIP, 0, NULL}},
    {.name = "seed: the sleeper does not look again", .run = submit_against_park,
     .seed = {"crt__inject_length", "length", MODEL_VALUE, 0, NULL}},
    {.name = "seed: no fence between a push and the look at the sleepers", .run = pushed_beside_long_poll,
     .seed = {"crt__notify_one", "fence", MODEL_SKIP, 0, NULL}},
    {.name = "seed: the idle set has no lock", .run = idle_set,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, NULL}},
    {.name = "seed: nobody looks into the LIFO slots of others", .run = lifo_beside_long_poll,
     .seed = {"crt__rescue_lifo", "load &victim->lifo", MODEL_VALUE, 0, NULL}},
    {.name = "seed: who leaves the driver for a task sends nobody", .run = lifo_while_all_sleep,
     .seed = {"crt__search_end", "driver_lock", MODEL_VALUE, 1, NULL}},
    {.name = "seed: the driver is not handed over", .run = event_beside_long_poll,
     .seed = {"crt__worker_park", "load &rt->idle.count", MODEL_VALUE, 0, NULL}},
    {.name = "seed: a root that ends tells nobody", .run = two_block_on,
     .seed = {"crt__root_done", NULL, MODEL_SKIP, 0, NULL}},
};
MODEL_MAIN(models)
