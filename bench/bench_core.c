// The crt side of bench/: the same work, with the same counts, as tokio/src/main.rs.
//
//   bench_core <workload> [rt=mt2|mt1|ct] [n=N] [secs=S] [miniter=I] [warm=W] ...
//
// meter.h says how it is measured and what is printed. "mt2" is the multi-thread runtime with two workers,
// "mt1" with one, "ct" the current-thread runtime.
#define CRT_IMPLEMENTATION
#include "../crt.h"

#include "http_answer.h"
#include "meter.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

// ------------------------------------------------------------------------------------------- runtime

// A call that has no reason to fail here.
static void must(intptr_t result)
{
    if (result < 0) die("%s", crt_strerror((int)result));
}

static crt_runtime *runtime;   // a program runs one workload; main drops it

static crt_runtime *new_runtime_with(size_t max_blocking_threads)   // 0: the default
{
    const char *rt = opt_text("rt", "mt2");
    crt_config config = { .max_blocking_threads = (int)max_blocking_threads };
    if (!strcmp(rt, "ct")) config.flavor = CRT_CURRENT_THREAD;
    else if (!strcmp(rt, "mt1")) config.worker_threads = 1;
    else if (!strcmp(rt, "mt2")) config.worker_threads = 2;
    else die("rt=%s: expected mt2, mt1 or ct", rt);
    must(crt_runtime_new(&config, &runtime));
    return runtime;
}

static crt_runtime *new_runtime(void)
{
    return new_runtime_with(0);
}

// --------------------------------------------------------------------------------- running a workload

// What an iteration runs: a coroutine and the frame to start it with.
typedef struct body {
    crt_runtime *rt;
    crt_fn fn;
    const void *frame;
    size_t size;
} body;

typedef struct root_frame {
    crt_frame co;
    const body *what;
    crt_join_handle *join;
} root_frame;

static crt_poll root_run(void *frame, crt_cx *cx)
{
    root_frame *self = frame;
    CRT_BEGIN(self, cx);
    must(crt_spawn_ex(cx, &(crt_task_desc){ .fn = self->what->fn, .frame = self->what->frame,
                                            .size = self->what->size, .join = &self->join }));
    CRT_AWAIT(crt_join(cx, &self->join, NULL));
    CRT_END;
}

// Runs the body as a spawned task, as the peer does: block_on waits for it, and is not timed.
static void in_task(void *arg)
{
    const body *what = arg;
    root_frame root = { .what = what };
    must(crt_block_on(what->rt, root_run, &root));
}

#define IN_TASK(rt, fn, ...) in_task(&(body){ (rt), (fn), (__VA_ARGS__), sizeof *(__VA_ARGS__) })
#define MEASURE(rt, fn, ...) measure(in_task, &(body){ (rt), (fn), (__VA_ARGS__), sizeof *(__VA_ARGS__) })

// ------------------------------------------------------------------------------------- shared parts

// Detached tasks count down; the last one wakes the task that waits. It outlives them all: whoever
// counts to zero may still be inside crt_notify_one when the waiter goes on.
typedef struct countdown {
    atomic_size_t left;
    crt_notify zero;
} countdown;

static countdown done;

static void countdown_start(size_t n)
{
    atomic_store(&done.left, n);
}

static void countdown_one(void)
{
    if (atomic_fetch_sub_explicit(&done.left, 1, memory_order_acq_rel) == 1) crt_notify_one(&done.zero);
}

static crt_poll nothing_run(void *frame, crt_cx *cx)
{
    (void)frame;
    (void)cx;
    return 0;
}

static crt_poll count_run(void *frame, crt_cx *cx)
{
    (void)frame;
    (void)cx;
    countdown_one();
    return 0;
}

// The smallest frame there is, for tasks that need none.
static const crt_frame no_frame;

// Handles to be joined in order; allocated once, outside the timed part.
static crt_join_handle **joins;

typedef struct join_frame {
    crt_frame co;
    size_t n, i;
} join_frame;

static crt_poll join_run(void *frame, crt_cx *cx)
{
    join_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++) CRT_AWAIT(crt_join(cx, &joins[self->i], NULL));
    CRT_END;
}

// ----------------------------------------------------------------------------------------- scheduler

typedef struct count_frame {   // most bodies need no more than this
    crt_frame co;
    size_t n, i;
    crt_join_handle *join;
    intptr_t result;
} count_frame;

static crt_poll spawn_many_local_run(void *frame, crt_cx *cx)
{
    count_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    countdown_start(self->n);
    for (size_t i = 0; i < self->n; i++) must(crt_spawn(cx, count_run, &no_frame));
    CRT_AWAIT(crt_notified(cx, &done.zero));
    meter_stop();
    CRT_END;
}

static void spawn_many_local(const char *name)
{
    size_t n = opt_num("n", 10000);
    MEASURE(new_runtime(), spawn_many_local_run, &(count_frame){ .n = n });
    report(name, text("n=%zu", n), n, "");
}

static crt_poll spawn_join_local_run(void *frame, crt_cx *cx)
{
    join_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    for (size_t i = 0; i < self->n; i++) must(crt_spawn_join(cx, &joins[i], nothing_run, &no_frame));
    for (self->i = 0; self->i < self->n; self->i++) CRT_AWAIT(crt_join(cx, &joins[self->i], NULL));
    meter_stop();
    CRT_END;
}

static void spawn_join_local(const char *name)
{
    size_t n = opt_num("n", 10000);
    joins = must_alloc(n, sizeof *joins);
    MEASURE(new_runtime(), spawn_join_local_run, &(join_frame){ .n = n });
    report(name, text("n=%zu", n), n, "");
}

// From a plain thread into a runtime that sleeps.
typedef struct remote {
    crt_runtime *rt;
    crt_handle *handle;
    size_t n;
} remote;

static void spawn_many_remote_once(void *arg)
{
    remote *r = arg;
    meter_start();
    for (size_t i = 0; i < r->n; i++) must(crt_handle_spawn_join(r->handle, &joins[i], nothing_run, &no_frame));
    must(crt_block_on(r->rt, join_run, &(join_frame){ .n = r->n }));
    meter_stop();
}

static void spawn_many_remote_idle(const char *name)
{
    remote r = { .rt = new_runtime(), .n = opt_num("n", 10000) };
    r.handle = crt_runtime_handle(r.rt);
    joins = must_alloc(r.n, sizeof *joins);
    measure(spawn_many_remote_once, &r);
    crt_handle_drop(&r.handle);
    report(name, text("n=%zu", r.n), r.n, "");
}

static crt_poll link_run(void *frame, crt_cx *cx)
{
    count_frame *self = frame;
    if (self->n == 0) countdown_one();
    else must(crt_spawn(cx, link_run, &(count_frame){ .n = self->n - 1 }));
    return 0;
}

static crt_poll chained_spawn_run(void *frame, crt_cx *cx)
{
    count_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    countdown_start(1);
    must(crt_spawn(cx, link_run, &(count_frame){ .n = self->n }));
    CRT_AWAIT(crt_notified(cx, &done.zero));
    meter_stop();
    CRT_END;
}

static void chained_spawn(const char *name)
{
    size_t n = opt_num("n", 1000);
    MEASURE(new_runtime(), chained_spawn_run, &(count_frame){ .n = n });
    report(name, text("depth=%zu", n), n, "");
}

static crt_poll yielder_run(void *frame, crt_cx *cx)
{
    count_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++) CRT_AWAIT(crt_yield_now(cx));
    countdown_one();
    CRT_END;
}

typedef struct yield_frame {
    crt_frame co;
    size_t tasks, n;
} yield_frame;

static crt_poll yield_many_run(void *frame, crt_cx *cx)
{
    yield_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    countdown_start(self->tasks);
    for (size_t i = 0; i < self->tasks; i++) must(crt_spawn(cx, yielder_run, &(count_frame){ .n = self->n }));
    CRT_AWAIT(crt_notified(cx, &done.zero));
    meter_stop();
    CRT_END;
}

static void yield_many(const char *name)
{
    size_t tasks = opt_num("tasks", 200), n = opt_num("n", 1000);
    MEASURE(new_runtime(), yield_many_run, &(yield_frame){ .tasks = tasks, .n = n });
    report(name, text("%zux%zu", tasks, n), tasks * n, "");
}

static crt_poll yield_one_run(void *frame, crt_cx *cx)
{
    count_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    for (self->i = 0; self->i < self->n; self->i++) CRT_AWAIT(crt_yield_now(cx));
    meter_stop();
    CRT_END;
}

static crt_poll listen_run(void *frame, crt_cx *cx);

typedef struct listen_frame {
    crt_frame co;
    crt_poll r;
    crt_addr addr;
    crt_listener *listener;
} listen_frame;

// io=1: a socket is open, so that there is something to ask the kernel about.
static void yield_one(const char *name)
{
    size_t n = opt_num("n", 100000), io = opt_num("io", 0);
    listen_frame l = { .r = 0 };
    new_runtime();
    if (io) must(crt_block_on(runtime, listen_run, &l));
    MEASURE(runtime, yield_one_run, &(count_frame){ .n = n });
    if (io) crt_close(&l.listener);
    report(name, text("n=%zu,io=%zu", n, io), n, "");
}

// Both branches of the recursion are tasks.
typedef struct fib_frame {
    crt_frame co;
    size_t n;
    crt_join_handle *left, *right;
    intptr_t a, b;
} fib_frame;

static crt_poll fib_run(void *frame, crt_cx *cx)
{
    fib_frame *self = frame;
    CRT_BEGIN(self, cx);
    if (self->n < 2) CRT_RETURN((crt_poll)self->n);
    must(crt_spawn_join(cx, &self->left, fib_run, &(fib_frame){ .n = self->n - 1 }));
    must(crt_spawn_join(cx, &self->right, fib_run, &(fib_frame){ .n = self->n - 2 }));
    CRT_AWAIT(crt_join(cx, &self->left, &self->a));
    CRT_AWAIT(crt_join(cx, &self->right, &self->b));
    CRT_RETURN(self->a + self->b);
    CRT_END;
}

static crt_poll fib_root_run(void *frame, crt_cx *cx)
{
    count_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    must(crt_spawn_join(cx, &self->join, fib_run, &(fib_frame){ .n = self->n }));
    CRT_AWAIT(crt_join(cx, &self->join, &self->result));
    meter_stop();
    BLACK_BOX(self->result);
    CRT_END;
}

static size_t fib_tasks(size_t n)
{
    return n < 2 ? 1 : 1 + fib_tasks(n - 1) + fib_tasks(n - 2);
}

static void fib(const char *name)
{
    size_t n = opt_num("n", 25);
    MEASURE(new_runtime(), fib_root_run, &(count_frame){ .n = n });
    report(name, text("n=%zu", n), fib_tasks(n), text("peak_rss=%.0fKiB", peak_rss_kib()));
}

// A tree of tasks with ten children each; the leaves are summed.
typedef struct sky_frame {
    crt_frame co;
    size_t first, leaves, i;
    crt_join_handle *children[10];
    intptr_t part, sum;
} sky_frame;

static crt_poll sky_run(void *frame, crt_cx *cx)
{
    sky_frame *self = frame;
    CRT_BEGIN(self, cx);
    if (self->leaves == 1) CRT_RETURN((crt_poll)self->first);
    self->leaves /= 10;
    for (size_t i = 0; i < 10; i++)
        must(crt_spawn_join(cx, &self->children[i], sky_run,
                            &(sky_frame){ .first = self->first + i * self->leaves, .leaves = self->leaves }));
    for (self->i = 0; self->i < 10; self->i++) {
        CRT_AWAIT(crt_join(cx, &self->children[self->i], &self->part));
        self->sum += self->part;
    }
    CRT_RETURN(self->sum);
    CRT_END;
}

static crt_poll sky_root_run(void *frame, crt_cx *cx)
{
    count_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    must(crt_spawn_join(cx, &self->join, sky_run, &(sky_frame){ .leaves = self->n }));
    CRT_AWAIT(crt_join(cx, &self->join, &self->result));
    if ((size_t)self->result != self->n * (self->n - 1) / 2) die("skynet: wrong sum");
    meter_stop();
    CRT_END;
}

static void skynet(const char *name)
{
    size_t n = opt_num("n", 1000000);   // a power of ten
    MEASURE(new_runtime(), sky_root_run, &(count_frame){ .n = n });
    report(name, text("leaves=%zu", n), (n * 10 - 1) / 9, text("peak_rss=%.0fKiB", peak_rss_kib()));
}

// Resident bytes for each parked task.
static atomic_size_t started;
static crt_notify never;

// Written by hand, as it needs no resume point.
static crt_poll park_pending_run(void *frame, crt_cx *cx)
{
    (void)frame;
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    atomic_fetch_add_explicit(&started, 1, memory_order_relaxed);
    return CRT_PENDING;
}

static crt_poll park_notify_run(void *frame, crt_cx *cx)
{
    crt_frame *self = frame;
    CRT_BEGIN(self, cx);
    atomic_fetch_add_explicit(&started, 1, memory_order_relaxed);
    CRT_AWAIT(crt_notified(cx, &never));
    CRT_END;
}

static crt_poll park_sleep_run(void *frame, crt_cx *cx)
{
    crt_frame *self = frame;
    CRT_BEGIN(self, cx);
    atomic_fetch_add_explicit(&started, 1, memory_order_relaxed);
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(3600)));
    CRT_END;
}

typedef struct mem_frame {
    crt_frame co;
    crt_fn fn;
    size_t n;
} mem_frame;

static crt_poll mem_run(void *frame, crt_cx *cx)
{
    mem_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    for (size_t i = 0; i < self->n; i++) must(crt_spawn(cx, self->fn, &no_frame));   // polled once each
    while (atomic_load_explicit(&started, memory_order_relaxed) < self->n) CRT_AWAIT(crt_yield_now(cx));
    meter_stop();
    CRT_END;
}

static void mem(const char *name)
{
    size_t n = opt_num("n", 1000000);
    const char *kind = opt_text("kind", "notify");
    crt_fn fn = !strcmp(kind, "pending") ? park_pending_run
              : !strcmp(kind, "notify")  ? park_notify_run
              : !strcmp(kind, "sleep")   ? park_sleep_run
                                         : NULL;
    if (!fn) die("kind=%s: expected pending, notify or sleep", kind);
    crt_runtime *rt = new_runtime();
    double before = status_bytes("VmRSS:");
    IN_TASK(rt, mem_run, &(mem_frame){ .fn = fn, .n = n });
    samples[sample_count++] = meter;
    double each = (status_bytes("VmRSS:") - before) / (double)n;
    report(name, text("kind=%s,n=%zu", kind, n), n,
           text("rss_bytes_per_task=%.1f peak_rss=%.0fKiB", each, peak_rss_kib()));
    exit(0);   // taking a million parked tasks down is not part of the measurement
}

// ---------------------------------------------------------------------------------------------- time

typedef struct sleep_frame {
    crt_frame co;
    crt_duration d;
} sleep_frame;

static crt_poll sleeper_run(void *frame, crt_cx *cx)
{
    sleep_frame *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, self->d));
    CRT_END;
}

static crt_poll ticker_run(void *frame, crt_cx *cx)
{
    sleep_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) CRT_AWAIT(crt_sleep(cx, self->d));
    CRT_END;
}

static crt_poll live_timers_run(void *frame, crt_cx *cx)
{
    count_frame *self = frame;
    CRT_BEGIN(self, cx);
    uint64_t rng = SEED;
    for (size_t i = 0; i < self->n; i++)
        must(crt_spawn(cx, sleeper_run, &(sleep_frame){ .d = CRT_MS(60000 + rng_next(&rng) % 600000) }));
    CRT_AWAIT(crt_sleep(cx, CRT_MS(200)));   // all of them have been polled
    CRT_END;
}

static void live_timers(crt_runtime *rt, size_t live, size_t tick)
{
    crt_handle *handle = crt_runtime_handle(rt);
    if (tick) must(crt_handle_spawn(handle, ticker_run, &(sleep_frame){ .d = CRT_MS(tick) }));
    crt_handle_drop(&handle);
    if (live) IN_TASK(rt, live_timers_run, &(count_frame){ .n = live });
}

// A timer that is set and taken down unfired: what every request with a deadline does. `live` timers
// lie in the wheel meanwhile; `tick` is the period of one more timer that keeps firing, which decides
// whether a new timer is the earliest (and so has to wake the driver) or not.
typedef struct cancel_frame {
    crt_frame co;
    size_t n, i;
    uint64_t rng;
    crt_timer timer;
} cancel_frame;

static crt_poll timer_cancel_run(void *frame, crt_cx *cx)
{
    cancel_frame *self = frame;
    CRT_BEGIN(self, cx);
    self->rng = SEED;
    meter_start();
    for (self->i = 1; self->i <= self->n; self->i++) {
        crt_timer_reset(cx, &self->timer, CRT_MS(1000 + (rng_next(&self->rng) & 0x3fff)));
        // Unconstrained: the cooperative budget would otherwise stop polls from setting it at all.
        if (crt_unconstrained(cx, crt_timer_wait(cx, &self->timer)) != CRT_PENDING) die("timer_cancel: it fired");
        crt_timer_stop(&self->timer);
        // so that the driver gets its turns as in a real program
        if (self->i % 100 == 0) CRT_AWAIT(crt_yield_now(cx));
    }
    meter_stop();
    CRT_END;
}

static void timer_cancel(const char *name)
{
    size_t n = opt_num("n", 200000), live = opt_num("live", 0), tick = opt_num("tick", 0);
    crt_runtime *rt = new_runtime();
    live_timers(rt, live, tick);
    MEASURE(rt, timer_cancel_run, &(cancel_frame){ .n = n });
    report(name, text("n=%zu,live=%zu,tick=%zu", n, live, tick), n, "");
    exit(0);
}

// The inner expression is ready at once: the timer is never registered.
typedef struct timeout_frame {
    crt_frame co;
    size_t n, i, tasks;
    crt_poll r;
    crt_timer timer;
} timeout_frame;

static crt_poll ready_one(void)
{
    crt_poll r = 1;
    BLACK_BOX(r);
    return r;
}

static crt_poll timeouts_run(void *frame, crt_cx *cx)
{
    timeout_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++) {
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(1), ready_one()));
        if (self->r != 1) die("timeout_ready: wrong result");
    }
    countdown_one();
    CRT_END;
}

static crt_poll timeout_ready_run(void *frame, crt_cx *cx)
{
    timeout_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    countdown_start(self->tasks);
    for (size_t i = 0; i < self->tasks; i++)
        must(crt_spawn(cx, timeouts_run, &(timeout_frame){ .n = self->n / self->tasks }));
    CRT_AWAIT(crt_notified(cx, &done.zero));
    meter_stop();
    CRT_END;
}

static void timeout_ready(const char *name)
{
    size_t n = opt_num("n", 200000), tasks = opt_num("tasks", 2);
    MEASURE(new_runtime(), timeout_ready_run, &(timeout_frame){ .n = n, .tasks = tasks });
    report(name, text("n=%zu,tasks=%zu", n, tasks), n, "");
}

// The inner expression is ready at its second poll: the timer is registered, lies there for a turn of the scheduler,
// and is taken down.
static crt_poll timeouts_yield_run(void *frame, crt_cx *cx)
{
    timeout_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++) {
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(1), crt_yield_now(cx)));
        if (self->r != 0) die("timeout_yield: wrong result");
    }
    countdown_one();
    CRT_END;
}

static crt_poll timeout_yield_run(void *frame, crt_cx *cx)
{
    timeout_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    countdown_start(self->tasks);
    for (size_t i = 0; i < self->tasks; i++)
        must(crt_spawn(cx, timeouts_yield_run, &(timeout_frame){ .n = self->n / self->tasks }));
    CRT_AWAIT(crt_notified(cx, &done.zero));
    meter_stop();
    CRT_END;
}

static void timeout_yield(const char *name)
{
    size_t n = opt_num("n", 200000), tasks = opt_num("tasks", 2), live = opt_num("live", 0), tick = opt_num("tick", 0);
    crt_runtime *rt = new_runtime();
    live_timers(rt, live, tick);
    MEASURE(rt, timeout_yield_run, &(timeout_frame){ .n = n, .tasks = tasks });
    report(name, text("n=%zu,tasks=%zu,live=%zu,tick=%zu", n, tasks, live, tick), n, "");
    exit(0);
}

typedef struct sleeps_frame {
    crt_frame co;
    size_t n, i;
    crt_duration d;
} sleeps_frame;

static crt_poll sleep_fixed_run(void *frame, crt_cx *cx)
{
    sleeps_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    for (size_t i = 0; i < self->n; i++)
        must(crt_spawn_join(cx, &joins[i], sleeper_run, &(sleep_frame){ .d = self->d }));
    for (self->i = 0; self->i < self->n; self->i++) CRT_AWAIT(crt_join(cx, &joins[self->i], NULL));
    meter_stop();
    CRT_END;
}

static void sleep_fixed(const char *name)
{
    size_t n = opt_num("n", 10000), each = opt_num("ms", 1);
    joins = must_alloc(n, sizeof *joins);
    MEASURE(new_runtime(), sleep_fixed_run, &(sleeps_frame){ .n = n, .d = CRT_MS(each) });
    report(name, text("n=%zu,ms=%zu", n, each), n, "");
}

// n tasks sleep between 1 and `ms` milliseconds. late=1 also measures how late each of them woke.
static double *lateness;   // of the last iteration, in us; one for each task

static crt_poll sleep_count_run(void *frame, crt_cx *cx)
{
    sleep_frame *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, self->d));
    countdown_one();
    CRT_END;
}

typedef struct late_frame {
    crt_frame co;
    crt_duration d;
    double due;
    double *late;
} late_frame;

static crt_poll sleep_late_run(void *frame, crt_cx *cx)
{
    late_frame *self = frame;
    CRT_BEGIN(self, cx);
    self->due = clock_now(CLOCK_MONOTONIC) + (double)self->d * 1e-9;
    CRT_AWAIT(crt_sleep(cx, self->d));
    *self->late = (clock_now(CLOCK_MONOTONIC) - self->due) * 1e6;
    countdown_one();
    CRT_END;
}

typedef struct rand_frame {
    crt_frame co;
    size_t n, ms;
} rand_frame;

static crt_poll sleep_rand_run(void *frame, crt_cx *cx)
{
    rand_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    countdown_start(self->n);
    uint64_t rng = SEED;
    for (size_t i = 0; i < self->n; i++) {
        crt_duration d = CRT_MS(1 + rng_next(&rng) % self->ms);
        if (lateness) must(crt_spawn(cx, sleep_late_run, &(late_frame){ .d = d, .late = &lateness[i] }));
        else must(crt_spawn(cx, sleep_count_run, &(sleep_frame){ .d = d }));
    }
    CRT_AWAIT(crt_notified(cx, &done.zero));
    meter_stop();
    CRT_END;
}

static void sleep_rand(const char *name)
{
    size_t n = opt_num("n", 1000000), ms = opt_num("ms", 1000), late = opt_num("late", 0);
    crt_runtime *rt = new_runtime();
    if (late) lateness = must_alloc(n, sizeof *lateness);
    double before = status_bytes("VmRSS:");
    MEASURE(rt, sleep_rand_run, &(rand_frame){ .n = n, .ms = ms });
    double peak = peak_rss_kib();
    const char *extra = text("peak_rss=%.0fKiB bytes_per_task=%.0f", peak, (peak * 1024 - before) / (double)n);
    if (late) {
        qsort(lateness, n, sizeof *lateness, by_value);
        double early = lateness[0] < 0 ? -lateness[0] : 0;
        extra = text("%s early_us=%.3f late_us:p50=%.0f p99=%.0f p999=%.0f max=%.0f", extra, early,
                     quantile(lateness, n, 0.5), quantile(lateness, n, 0.99), quantile(lateness, n, 0.999),
                     lateness[n - 1]);
    }
    report(name, text("n=%zu,ms=%zu,late=%zu", n, ms, late), n, extra);
}

// ------------------------------------------------------------------------------------- blocking pool

static intptr_t blocking_job(void *arg)
{
    (void)arg;
    return 0;
}

static crt_poll spawn_blocking_run(void *frame, crt_cx *cx)
{
    join_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    for (size_t i = 0; i < self->n; i++) must(crt_spawn_blocking(cx, &joins[i], blocking_job, NULL));
    for (self->i = 0; self->i < self->n; self->i++) CRT_AWAIT(crt_join(cx, &joins[self->i], NULL));
    meter_stop();
    CRT_END;
}

static void spawn_blocking(const char *name)
{
    size_t n = opt_num("n", 10000), cap = opt_num("cap", 512);
    joins = must_alloc(n, sizeof *joins);
    MEASURE(new_runtime_with(cap), spawn_blocking_run, &(join_frame){ .n = n });
    report(name, text("n=%zu,cap=%zu", n, cap), n, "");
}

static crt_poll spawn_blocking_seq_run(void *frame, crt_cx *cx)
{
    count_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    for (self->i = 0; self->i < self->n; self->i++) {
        must(crt_spawn_blocking(cx, &self->join, blocking_job, NULL));
        CRT_AWAIT(crt_join(cx, &self->join, NULL));
    }
    meter_stop();
    CRT_END;
}

static void spawn_blocking_seq(const char *name)
{
    size_t n = opt_num("n", 2000);
    MEASURE(new_runtime(), spawn_blocking_seq_run, &(count_frame){ .n = n });
    report(name, text("n=%zu", n), n, "");
}

// -------------------------------------------------------------------------------- channels and locks

// Pairs of tasks exchange one message each way over two oneshots.
typedef struct pong_frame {
    crt_frame co;
    crt_oneshot_rx *rx;
    crt_oneshot_tx *tx;
    char message;
} pong_frame;

static crt_poll pong_run(void *frame, crt_cx *cx)
{
    pong_frame *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_oneshot_recv(cx, &self->rx, &self->message));
    must(crt_oneshot_send(&self->tx, &self->message));
    CRT_END;
}

static crt_poll ping_run(void *frame, crt_cx *cx)
{
    pong_frame *self = frame;
    CRT_BEGIN(self, cx);
    pong_frame peer = { .message = 0 };
    must(crt_oneshot_new(sizeof self->message, &self->tx, &peer.rx));
    must(crt_oneshot_new(sizeof self->message, &peer.tx, &self->rx));
    must(crt_spawn(cx, pong_run, &peer));
    must(crt_oneshot_send(&self->tx, &self->message));
    CRT_AWAIT(crt_oneshot_recv(cx, &self->rx, &self->message));
    countdown_one();
    CRT_END;
}

static crt_poll ping_pong_run(void *frame, crt_cx *cx)
{
    count_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    countdown_start(self->n);
    for (size_t i = 0; i < self->n; i++) must(crt_spawn(cx, ping_run, &(pong_frame){ .message = 0 }));
    CRT_AWAIT(crt_notified(cx, &done.zero));
    meter_stop();
    CRT_END;
}

static void ping_pong(const char *name)
{
    size_t n = opt_num("n", 1000);
    MEASURE(new_runtime(), ping_pong_run, &(count_frame){ .n = n });
    report(name, text("pairs=%zu", n), n, "");
}

typedef struct oneshot_frame {
    crt_frame co;
    size_t n, i, value;
    crt_oneshot_rx *rx;
} oneshot_frame;

static crt_poll oneshot_run(void *frame, crt_cx *cx)
{
    oneshot_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    for (self->i = 0; self->i < self->n; self->i++) {
        crt_oneshot_tx *tx;
        must(crt_oneshot_new(sizeof self->value, &tx, &self->rx));
        must(crt_oneshot_send(&tx, &self->i));
        CRT_AWAIT(crt_oneshot_recv(cx, &self->rx, &self->value));
        BLACK_BOX(self->value);
    }
    meter_stop();
    CRT_END;
}

static void oneshot(const char *name)
{
    size_t n = opt_num("n", 100000);
    MEASURE(new_runtime(), oneshot_run, &(oneshot_frame){ .n = n });
    report(name, text("n=%zu", n), n, "");
}

static crt_notify ping_notify, pong_notify;

static crt_poll notify_peer_run(void *frame, crt_cx *cx)
{
    count_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++) {
        CRT_AWAIT(crt_notified(cx, &ping_notify));
        crt_notify_one(&pong_notify);
    }
    CRT_END;
}

static crt_poll notify_pingpong_run(void *frame, crt_cx *cx)
{
    count_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    must(crt_spawn_join(cx, &self->join, notify_peer_run, &(count_frame){ .n = self->n }));
    for (self->i = 0; self->i < self->n; self->i++) {
        crt_notify_one(&ping_notify);
        CRT_AWAIT(crt_notified(cx, &pong_notify));
    }
    CRT_AWAIT(crt_join(cx, &self->join, NULL));
    meter_stop();
    CRT_END;
}

static void notify_pingpong(const char *name)
{
    size_t n = opt_num("n", 50000);
    MEASURE(new_runtime(), notify_pingpong_run, &(count_frame){ .n = n });
    report(name, text("n=%zu", n), n, "");
}

// hold=1 yields inside the critical section, so that the others really queue.
typedef struct lock_frame {
    crt_frame co;
    size_t tasks, n, i, hold, permits;
    crt_fn worker;
} lock_frame;

static crt_mutex counter_mutex;
static size_t counter;

static crt_poll mutex_worker_run(void *frame, crt_cx *cx)
{
    lock_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++) {
        CRT_AWAIT(crt_mutex_lock(cx, &counter_mutex));
        counter++;
        if (self->hold) CRT_AWAIT(crt_yield_now(cx));
        crt_mutex_unlock(&counter_mutex);
    }
    countdown_one();
    CRT_END;
}

static crt_semaphore limit;

static crt_poll semaphore_worker_run(void *frame, crt_cx *cx)
{
    lock_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++) {
        CRT_AWAIT(crt_semaphore_acquire(cx, &limit, 1));
        if (self->hold) CRT_AWAIT(crt_yield_now(cx));
        crt_semaphore_release(&limit, 1);
    }
    countdown_one();
    CRT_END;
}

static crt_poll lock_run(void *frame, crt_cx *cx)
{
    lock_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    counter = 0;
    countdown_start(self->tasks);
    for (size_t i = 0; i < self->tasks; i++)
        must(crt_spawn(cx, self->worker, &(lock_frame){ .n = self->n, .hold = self->hold }));
    CRT_AWAIT(crt_notified(cx, &done.zero));
    meter_stop();
    if (self->worker == mutex_worker_run && counter != self->tasks * self->n) die("mutex: lost an update");
    CRT_END;
}

static void mutex(const char *name)
{
    lock_frame f = { .tasks = opt_num("tasks", 4), .n = opt_num("n", 50000), .hold = opt_num("hold", 0),
                     .worker = mutex_worker_run };
    MEASURE(new_runtime(), lock_run, &f);
    report(name, text("tasks=%zu,n=%zu,hold=%zu", f.tasks, f.n, f.hold), f.tasks * f.n, "");
}

// The same by one task alone: what the locks cost that nobody else wants.
static crt_poll mutex_alone_run(void *frame, crt_cx *cx)
{
    count_frame *self = frame;
    CRT_BEGIN(self, cx);
    counter = 0;
    meter_start();
    for (self->i = 0; self->i < self->n; self->i++) {
        CRT_AWAIT(crt_mutex_lock(cx, &counter_mutex));
        counter++;
        crt_mutex_unlock(&counter_mutex);
    }
    meter_stop();
    if (counter != self->n) die("mutex_uncontended: lost an update");
    CRT_END;
}

static void mutex_uncontended(const char *name)
{
    size_t n = opt_num("n", 100000);
    MEASURE(new_runtime(), mutex_alone_run, &(count_frame){ .n = n });
    report(name, text("n=%zu", n), n, "");
}

static crt_poll semaphore_alone_run(void *frame, crt_cx *cx)
{
    count_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    for (self->i = 0; self->i < self->n; self->i++) {
        CRT_AWAIT(crt_semaphore_acquire(cx, &limit, 1));
        crt_semaphore_release(&limit, 1);
    }
    meter_stop();
    CRT_END;
}

static void semaphore_uncontended(const char *name)
{
    size_t n = opt_num("n", 100000);
    crt_semaphore_init(&limit, 2);
    MEASURE(new_runtime(), semaphore_alone_run, &(count_frame){ .n = n });
    report(name, text("n=%zu", n), n, "");
}

// Readers only: they share the lock, and the cache line of it.
static crt_rwlock shared_lock;

static crt_poll reader_run(void *frame, crt_cx *cx)
{
    lock_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++) {
        CRT_AWAIT(crt_rwlock_read(cx, &shared_lock));
        size_t seen = counter;
        BLACK_BOX(seen);
        crt_rwlock_unlock_read(&shared_lock);
    }
    countdown_one();
    CRT_END;
}

static void rwlock_read(const char *name)
{
    lock_frame f = { .tasks = opt_num("tasks", 4), .n = opt_num("n", 50000), .worker = reader_run };
    MEASURE(new_runtime(), lock_run, &f);
    report(name, text("tasks=%zu,n=%zu", f.tasks, f.n), f.tasks * f.n, "");
}

static void semaphore(const char *name)
{
    lock_frame f = { .tasks = opt_num("tasks", 4), .n = opt_num("n", 50000), .hold = opt_num("hold", 0),
                     .permits = opt_num("permits", 2), .worker = semaphore_worker_run };
    crt_semaphore_init(&limit, f.permits);
    MEASURE(new_runtime(), lock_run, &f);
    report(name, text("tasks=%zu,n=%zu,permits=%zu,hold=%zu", f.tasks, f.n, f.permits, f.hold), f.tasks * f.n, "");
}

#ifdef CRT_HAS_MPSC
// cap=0: unbounded
typedef struct mpsc_frame {
    crt_frame co;
    size_t prod, cap, n, i, count, value;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    int r;
} mpsc_frame;

static crt_poll producer_run(void *frame, crt_cx *cx)
{
    mpsc_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++) CRT_AWAIT(crt_mpsc_send(cx, self->tx, &self->i));
    CRT_FINALLY
        crt_mpsc_tx_drop(&self->tx);
    CRT_END;
}

static crt_poll mpsc_run(void *frame, crt_cx *cx)
{
    mpsc_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    must(crt_mpsc_new(sizeof self->value, self->cap, &self->tx, &self->rx));
    for (size_t i = 0; i < self->prod; i++)
        must(crt_spawn(cx, producer_run,
                       &(mpsc_frame){ .n = self->n / self->prod, .tx = crt_mpsc_tx_clone(self->tx) }));
    crt_mpsc_tx_drop(&self->tx);
    self->count = 0;
    for (;;) {
        CRT_AWAIT(self->r = (int)crt_mpsc_recv(cx, self->rx, &self->value));
        if (self->r < 0) break;
        BLACK_BOX(self->value);
        self->count++;
    }
    if (self->count != self->n / self->prod * self->prod) die("mpsc: lost a message");
    crt_mpsc_rx_drop(&self->rx);
    meter_stop();
    CRT_END;
}

static void mpsc(const char *name)
{
    mpsc_frame f = { .prod = opt_num("prod", 1), .cap = opt_num("cap", 1024), .n = opt_num("n", 200000) };
    MEASURE(new_runtime(), mpsc_run, &f);
    report(name, text("prod=%zu,cap=%zu,n=%zu", f.prod, f.cap, f.n), f.n, "");
}

// One task fills a channel that nobody listens to yet, then empties it: neither side ever waits.
static crt_poll mpsc_alone_run(void *frame, crt_cx *cx)
{
    mpsc_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    must(crt_mpsc_new(sizeof self->value, self->cap, &self->tx, &self->rx));
    for (self->i = 0; self->i < self->n; self->i++) CRT_AWAIT(crt_mpsc_send(cx, self->tx, &self->i));
    for (self->i = 0; self->i < self->n; self->i++) {
        CRT_AWAIT(crt_mpsc_recv(cx, self->rx, &self->value));
        BLACK_BOX(self->value);
    }
    meter_stop();
    crt_mpsc_tx_drop(&self->tx);
    crt_mpsc_rx_drop(&self->rx);
    CRT_END;
}

static void mpsc_uncontended(const char *name)
{
    mpsc_frame f = { .cap = opt_num("cap", 5000), .n = opt_num("n", 5000) };
    if (f.cap && f.cap < f.n) die("mpsc_uncontended: cap=%zu is less than n", f.cap);
    MEASURE(new_runtime(), mpsc_alone_run, &f);
    report(name, text("cap=%zu,n=%zu", f.cap, f.n), f.n, "");
}

// A client sends a oneshot through an mpsc of 10 and waits for the answer. client=main is the root
// task of block_on; client=task a spawned one.
typedef struct server_frame {
    crt_frame co;
    crt_mpsc_rx *rx;
    crt_oneshot_tx *reply;
    int r;
} server_frame;

static crt_poll server_run(void *frame, crt_cx *cx)
{
    server_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = (int)crt_mpsc_recv(cx, self->rx, &self->reply));
        if (self->r < 0) break;
        must(crt_oneshot_send(&self->reply, &(char){ 0 }));
    }
    CRT_FINALLY
        crt_mpsc_rx_drop(&self->rx);
    CRT_END;
}

typedef struct client_frame {
    crt_frame co;
    size_t n, i;
    crt_mpsc_tx *tx;
    crt_oneshot_tx *reply;
    crt_oneshot_rx *answer;
    char message;
} client_frame;

static crt_poll client_run(void *frame, crt_cx *cx)
{
    client_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    for (self->i = 0; self->i < self->n; self->i++) {
        must(crt_oneshot_new(sizeof self->message, &self->reply, &self->answer));
        CRT_AWAIT(crt_mpsc_send(cx, self->tx, &self->reply));
        CRT_AWAIT(crt_oneshot_recv(cx, &self->answer, &self->message));
    }
    meter_stop();
    CRT_END;
}

static void client_main(void *arg)
{
    const body *what = arg;
    client_frame frame = *(const client_frame *)what->frame;
    must(crt_block_on(what->rt, client_run, &frame));
}

static void request_reply(const char *name)
{
    const char *client = opt_text("client", "task");
    size_t n = opt_num("n", 10000);
    crt_runtime *rt = new_runtime();
    crt_handle *handle = crt_runtime_handle(rt);
    client_frame frame = { .n = n };
    server_frame server = { .r = 0 };
    must(crt_mpsc_new(sizeof(crt_oneshot_tx *), 10, &frame.tx, &server.rx));
    must(crt_handle_spawn(handle, server_run, &server));
    crt_handle_drop(&handle);
    measure(!strcmp(client, "main") ? client_main : in_task, &(body){ rt, client_run, &frame, sizeof frame });
    crt_mpsc_tx_drop(&frame.tx);   // ends the server
    report(name, text("n=%zu,client=%s", n, client), n, "");
}
#endif   // CRT_HAS_MPSC

#ifdef CRT_HAS_CHANNELS
// One sender, `rx` receivers that live as long as the program. The sender goes on when all of them have
// seen the value: a value is one operation for each receiver.
typedef struct fanout_frame {
    crt_frame co;
    size_t receivers, n, i, value, seen;
    crt_broadcast_tx *broadcast_tx;
    crt_broadcast_rx *broadcast_rx;
    crt_watch_tx *watch_tx;
    crt_watch_rx *watch_rx;
    atomic_size_t *progress;
    int r;
} fanout_frame;

static crt_poll broadcast_receiver_run(void *frame, crt_cx *cx)
{
    fanout_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = (int)crt_broadcast_recv(cx, self->broadcast_rx, &self->value, NULL));
        if (self->r < 0) break;
        countdown_one();
    }
    CRT_FINALLY
        crt_broadcast_rx_drop(&self->broadcast_rx);
    CRT_END;
}

static crt_poll watch_receiver_run(void *frame, crt_cx *cx)
{
    fanout_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = (int)crt_watch_changed(cx, self->watch_rx));
        if (self->r < 0) break;
        crt_watch_get(self->watch_rx, &self->value);
        BLACK_BOX(self->value);
        countdown_one();
    }
    CRT_FINALLY
        crt_watch_rx_drop(&self->watch_rx);
    CRT_END;
}

static crt_poll fanout_run(void *frame, crt_cx *cx)
{
    fanout_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    for (self->i = 0; self->i < self->n; self->i++) {
        atomic_fetch_add_explicit(&done.left, self->receivers, memory_order_relaxed);
        if (self->watch_tx) must(crt_watch_send(self->watch_tx, &self->i));
        else must(crt_broadcast_send(self->broadcast_tx, &self->i));
        while (atomic_load_explicit(&done.left, memory_order_acquire) > 0)
            CRT_AWAIT(crt_notified(cx, &done.zero));
    }
    meter_stop();
    CRT_END;
}

static void broadcast(const char *name)
{
    fanout_frame f = { .receivers = opt_num("rx", 10), .n = opt_num("n", 100) };
    crt_handle *handle = crt_runtime_handle(new_runtime());
    must(crt_broadcast_new(sizeof f.value, 1000, &f.broadcast_tx));
    for (size_t i = 0; i < f.receivers; i++) {
        fanout_frame receiver = { .n = 0 };
        must(crt_broadcast_subscribe(f.broadcast_tx, &receiver.broadcast_rx));
        must(crt_handle_spawn(handle, broadcast_receiver_run, &receiver));
    }
    crt_handle_drop(&handle);
    MEASURE(runtime, fanout_run, &f);
    report(name, text("rx=%zu,n=%zu", f.receivers, f.n), f.receivers * f.n, "");
    crt_broadcast_tx_drop(&f.broadcast_tx);   // ends the receivers
}

static void watch(const char *name)
{
    fanout_frame f = { .receivers = opt_num("rx", 10), .n = opt_num("n", 100) };
    crt_handle *handle = crt_runtime_handle(new_runtime());
    must(crt_watch_new(sizeof f.value, &f.value, &f.watch_tx, &f.watch_rx));
    for (size_t i = 0; i < f.receivers; i++) {
        fanout_frame receiver = { .n = 0 };
        must(crt_watch_subscribe(f.watch_tx, &receiver.watch_rx));
        must(crt_handle_spawn(handle, watch_receiver_run, &receiver));
    }
    crt_handle_drop(&handle);
    MEASURE(runtime, fanout_run, &f);
    report(name, text("rx=%zu,n=%zu", f.receivers, f.n), f.receivers * f.n, "");
    crt_watch_tx_drop(&f.watch_tx);   // ends the receivers
    crt_watch_rx_drop(&f.watch_rx);
}

// One sender floods `rx` receivers. It looks every 256 values how far they have come, and yields until
// nobody is more than 512 behind, so that nothing of the 1024 is lost.
enum { STREAM_CAP = 1024, STREAM_RX_MAX = 64 };
static atomic_size_t progress[STREAM_RX_MAX];

static crt_poll stream_receiver_run(void *frame, crt_cx *cx)
{
    fanout_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = (int)crt_broadcast_recv(cx, self->broadcast_rx, &self->value, NULL));
        if (self->r == CRT_ELAGGED) die("broadcast_stream: lost a value");
        if (self->r < 0) break;
        if (++self->seen % 64 == 0) atomic_store_explicit(self->progress, self->seen, memory_order_relaxed);
    }
    if (self->seen != self->n) die("broadcast_stream: %zu values of %zu", self->seen, self->n);
    countdown_one();
    CRT_FINALLY
        crt_broadcast_rx_drop(&self->broadcast_rx);
    CRT_END;
}

static bool somebody_is_behind(size_t receivers, size_t sent)
{
    for (size_t i = 0; i < receivers; i++)
        if (atomic_load_explicit(&progress[i], memory_order_relaxed) + STREAM_CAP / 2 < sent) return true;
    return false;
}

static crt_poll broadcast_stream_run(void *frame, crt_cx *cx)
{
    fanout_frame *self = frame;
    CRT_BEGIN(self, cx);
    meter_start();
    must(crt_broadcast_new(sizeof self->value, STREAM_CAP, &self->broadcast_tx));
    countdown_start(self->receivers);
    for (size_t i = 0; i < self->receivers; i++) {
        fanout_frame receiver = { .n = self->n, .progress = &progress[i] };
        atomic_store_explicit(&progress[i], 0, memory_order_relaxed);
        must(crt_broadcast_subscribe(self->broadcast_tx, &receiver.broadcast_rx));
        must(crt_spawn(cx, stream_receiver_run, &receiver));
    }
    for (self->i = 0; self->i < self->n; self->i++) {
        must(crt_broadcast_send(self->broadcast_tx, &self->i));
        if (self->i % 256 != 255) continue;
        while (somebody_is_behind(self->receivers, self->i)) CRT_AWAIT(crt_yield_now(cx));
    }
    crt_broadcast_tx_drop(&self->broadcast_tx);
    CRT_AWAIT(crt_notified(cx, &done.zero));
    meter_stop();
    CRT_END;
}

static void broadcast_stream(const char *name)
{
    fanout_frame f = { .receivers = opt_num("rx", 4), .n = opt_num("n", 50000) };
    if (f.receivers > STREAM_RX_MAX) die("broadcast_stream: rx=%zu is too many", f.receivers);
    MEASURE(new_runtime(), broadcast_stream_run, &f);
    report(name, text("rx=%zu,n=%zu,cap=%d", f.receivers, f.n, STREAM_CAP), f.receivers * f.n, "");
}

// What an empty channel of 8-byte elements keeps from the allocator, just made and after `messages` have
// passed through and been received: the mean of `n` channels. The allocator is asked: run with alloc_count.so
// preloaded.
typedef struct any_channel {
    crt_mpsc_tx *mpsc_tx;
    crt_mpsc_rx *mpsc_rx;
    crt_oneshot_tx *oneshot_tx;
    crt_oneshot_rx *oneshot_rx;
    crt_broadcast_tx *broadcast_tx;
    crt_broadcast_rx *broadcast_rx;
    crt_watch_tx *watch_tx;
    crt_watch_rx *watch_rx;
} any_channel;

typedef struct bytes_frame {
    crt_frame co;
    const char *kind;
    size_t n, messages, i;
    any_channel *channels;
    uint64_t value;
} bytes_frame;

static size_t (*live_bytes)(void);
static double bytes_created, bytes_drained;

static void make_channel(const char *kind, any_channel *c)
{
    uint64_t first = 0;
    if (!strcmp(kind, "mpsc")) {
        must(crt_mpsc_new(sizeof first, 1024, &c->mpsc_tx, &c->mpsc_rx));
    } else if (!strcmp(kind, "unbounded")) {
        must(crt_mpsc_new(sizeof first, 0, &c->mpsc_tx, &c->mpsc_rx));
    } else if (!strcmp(kind, "oneshot")) {
        must(crt_oneshot_new(sizeof first, &c->oneshot_tx, &c->oneshot_rx));
    } else if (!strcmp(kind, "broadcast")) {
        must(crt_broadcast_new(sizeof first, 16, &c->broadcast_tx));
        must(crt_broadcast_subscribe(c->broadcast_tx, &c->broadcast_rx));
    } else if (!strcmp(kind, "watch")) {
        must(crt_watch_new(sizeof first, &first, &c->watch_tx, &c->watch_rx));
    } else {
        die("kind=%s: expected mpsc, unbounded, oneshot, broadcast or watch", kind);
    }
}

// `burst` values in, then as many out.
static void pass_burst(any_channel *c, size_t burst)
{
    uint64_t got;
    for (uint64_t i = 0; i < burst; i++) {
        if (c->mpsc_tx) must(crt_mpsc_try_send(c->mpsc_tx, &i));
        if (c->broadcast_tx) must(crt_broadcast_send(c->broadcast_tx, &i));
        if (c->watch_tx) must(crt_watch_send(c->watch_tx, &i));
    }
    for (uint64_t i = 0; i < burst; i++) {
        if (c->mpsc_tx) must(crt_mpsc_try_recv(c->mpsc_rx, &got));
        if (c->broadcast_tx) must(crt_broadcast_try_recv(c->broadcast_rx, &got, NULL));
        if (c->watch_tx) crt_watch_get(c->watch_rx, &got);
    }
}

static void pass_messages(const bytes_frame *f, any_channel *c)
{
    size_t burst = !strcmp(f->kind, "mpsc")      ? 1000
                 : !strcmp(f->kind, "unbounded") ? f->messages
                 : !strcmp(f->kind, "broadcast") ? 16
                                                 : 1;
    for (size_t sent = 0; sent < f->messages; sent += burst) pass_burst(c, burst);
}

static crt_poll chan_bytes_run(void *frame, crt_cx *cx)
{
    bytes_frame *self = frame;
    CRT_BEGIN(self, cx);
    size_t before = live_bytes();
    for (size_t i = 0; i < self->n; i++) make_channel(self->kind, &self->channels[i]);
    bytes_created = (double)(live_bytes() - before) / (double)self->n;
    self->value = before;
    for (self->i = 0; self->i < self->n; self->i++) {
        any_channel *c = &self->channels[self->i];
        if (c->oneshot_tx) {   // which carries one and is gone
            must(crt_oneshot_send(&c->oneshot_tx, &(uint64_t){ 0 }));
            CRT_AWAIT(crt_oneshot_recv(cx, &self->channels[self->i].oneshot_rx, &(uint64_t){ 0 }));
        } else {
            pass_messages(self, c);
        }
    }
    bytes_drained = (double)(live_bytes() - (size_t)self->value) / (double)self->n;
    CRT_END;
}

static void chan_bytes(const char *name)
{
    bytes_frame f = { .kind = opt_text("kind", "mpsc"), .n = opt_num("n", 100),
                      .messages = opt_num("messages", 10000) };
    void *counter_symbol = dlsym(RTLD_DEFAULT, "alloc_count_live_bytes");
    if (!counter_symbol) die("chan_bytes: LD_PRELOAD=alloc_count.so is missing");
    memcpy(&live_bytes, &counter_symbol, sizeof live_bytes);
    f.channels = must_alloc(f.n, sizeof *f.channels);
    IN_TASK(new_runtime(), chan_bytes_run, &f);
    samples[sample_count++] = (sample){ 0 };   // bytes, and no time
    report(name, text("kind=%s", f.kind), 1, text("created=%.1f drained=%.1f", bytes_created, bytes_drained));
}
#endif   // CRT_HAS_CHANNELS

// ------------------------------------------------------------------------------- what a runtime keeps

static crt_poll nothing_root_run(void *frame, crt_cx *cx)
{
    count_frame *self = frame;
    CRT_BEGIN(self, cx);
    must(crt_spawn_join(cx, &self->join, nothing_run, &no_frame));
    CRT_AWAIT(crt_join(cx, &self->join, NULL));
    CRT_END;
}

// Memory of a runtime that has run one empty task.
static void empty(const char *name)
{
    status_bytes("RssAnon:");   // so that stdio has what it needs
    double before = status_bytes("RssAnon:");
    must(crt_block_on(new_runtime(), nothing_root_run, &(count_frame){ .n = 0 }));
    double after = status_bytes("RssAnon:");
    samples[sample_count++] = (sample){ 0 };
    report(name, "-", 1, text("anon_bytes=%.0f", after - before));
}

// Lets a runtime with a parked task sit for `secs` and counts, from a thread outside of it, how often its threads
// wake and the CPU time that they take.
static void *watch_idle(void *name)
{
    double secs = opt_real("secs", 1);
    nanosleep(&(struct timespec){ 0, 300000000 }, NULL);   // until it has settled
    double woken = switches_of(RUSAGE_SELF) - switches_of(RUSAGE_THREAD);
    double cpu = clock_now(CLOCK_PROCESS_CPUTIME_ID) - clock_now(CLOCK_THREAD_CPUTIME_ID);
    nanosleep(&(struct timespec){ (time_t)secs, (long)((secs - (double)(time_t)secs) * 1e9) }, NULL);
    cpu = clock_now(CLOCK_PROCESS_CPUTIME_ID) - clock_now(CLOCK_THREAD_CPUTIME_ID) - cpu;
    woken = switches_of(RUSAGE_SELF) - switches_of(RUSAGE_THREAD) - woken;
    samples[sample_count++] = (sample){ secs, cpu, woken };
    report(name, "-", 1, text("wakeups_per_s=%.2f cpu_us_per_s=%.0f", woken / secs, cpu > 0 ? cpu / secs * 1e6 : 0));
    exit(0);
}

static void idle(const char *name)
{
    pthread_t watcher;
    crt_handle *handle = crt_runtime_handle(new_runtime());
    must(crt_handle_spawn(handle, park_notify_run, &no_frame));
    if (pthread_create(&watcher, NULL, watch_idle, (void *)(uintptr_t)name)) die("no thread");
    must(crt_block_on(runtime, park_notify_run, &(crt_frame){ 0 }));
}

// ----------------------------------------------------------------------------------------------- net

typedef struct echo_frame {
    crt_frame co;
    crt_stream *peer;   // second in each of the frames of connections
    crt_poll n;
    char buf[4096];
} echo_frame;

static crt_poll echo_run(void *frame, crt_cx *cx)
{
    echo_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->n = crt_read(cx, self->peer, self->buf, sizeof self->buf));
        if (self->n <= 0) break;
        CRT_AWAIT(self->n = crt_write_all(cx, self->peer, self->buf, (size_t)self->n));
        if (self->n < 0) break;
    }
    CRT_FINALLY
        crt_close(&self->peer);
    CRT_END;
}

// An echo that owns no buffer while it waits: all tasks of a thread share one.
typedef struct lean_frame {
    crt_frame co;
    crt_stream *peer;
    crt_poll n;
    char *rest;   // what the peer does not take yet
} lean_frame;

static crt_poll lean_once(lean_frame *self)   // how many bytes are left in `rest`; < 0: the end
{
    static _Thread_local char buf[4096];
    crt_poll n = crt_try_read(self->peer, buf, sizeof buf);
    if (n == CRT_EAGAIN) return 0;
    if (n <= 0) return -1;
    crt_poll sent = crt_try_write(self->peer, buf, (size_t)n);
    if (sent == CRT_EAGAIN) sent = 0;
    if (sent < 0 || sent == n) return sent < 0 ? -1 : 0;
    self->rest = must_alloc((size_t)(n - sent), 1);
    memcpy(self->rest, buf + sent, (size_t)(n - sent));
    return n - sent;
}

static crt_poll lean_run(void *frame, crt_cx *cx)
{
    lean_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->n = crt_readable(cx, self->peer));
        if (self->n < 0) break;
        self->n = lean_once(self);
        if (self->n < 0) break;
        if (self->n == 0) continue;
        CRT_AWAIT(self->n = crt_write_all(cx, self->peer, self->rest, (size_t)self->n));
        if (self->n < 0) break;
        free(self->rest);
        self->rest = NULL;
    }
    CRT_FINALLY
        free(self->rest);
        crt_close(&self->peer);
    CRT_END;
}

typedef struct http_frame {
    crt_frame co;
    crt_stream *peer;
    crt_poll n;
    size_t have, answered;
    char in[HTTP_BUFFER], out[HTTP_BUFFER];
} http_frame;

static crt_poll http_run(void *frame, crt_cx *cx)
{
    http_frame *self = frame;
    CRT_BEGIN(self, cx);
    while (self->have < sizeof self->in) {   // else a head that is too large
        CRT_AWAIT(self->n = crt_read(cx, self->peer, self->in + self->have, sizeof self->in - self->have));
        if (self->n <= 0) break;
        self->have += (size_t)self->n;
        do {
            self->n = (crt_poll)http_answer(self->in, self->have, self->out, &self->answered);
            if (self->n == 0) break;
            self->have -= self->answered;
            memmove(self->in, self->in + self->answered, self->have);
            CRT_AWAIT(self->n = crt_write_all(cx, self->peer, self->out, (size_t)self->n));
        } while (self->n >= 0 && self->have);
        if (self->n < 0) break;
    }
    CRT_FINALLY
        crt_close(&self->peer);
    CRT_END;
}

typedef struct accept_frame {
    crt_frame co;
    crt_listener *listener;
    crt_fn serve;
    size_t frame_size, accepted, n;   // n: stop after so many
    crt_poll r;
    union {
        struct { crt_frame co; crt_stream *peer; } any;
        echo_frame echo;
        lean_frame lean;
        http_frame http;
    } conn;   // as it is to be spawned
} accept_frame;

static crt_poll accept_run(void *frame, crt_cx *cx)
{
    accept_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (self->accepted = 0; self->accepted < self->n; self->accepted++) {
        CRT_AWAIT(self->r = crt_accept(cx, self->listener, &self->conn.any.peer, NULL));
        must(self->r);
        must(crt_spawn_ex(cx, &(crt_task_desc){ .fn = self->serve, .frame = &self->conn, .size = self->frame_size }));
    }
    CRT_END;
}

static crt_poll listen_run(void *frame, crt_cx *cx)
{
    listen_frame *self = frame;
    CRT_BEGIN(self, cx);
    static const crt_listen_desc desc = { .backlog = 4096 };
    CRT_AWAIT(self->r = crt_tcp_listen(cx, text("127.0.0.1:%zu", opt_num("port", 0)), &desc, &self->listener));
    must(self->r);
    must(crt_local_addr(self->listener, &self->addr));
    CRT_END;
}

// The bad neighbour: computes for `spin` milliseconds at a time without giving up its worker.
static crt_poll spin_run(void *frame, crt_cx *cx)
{
    crt_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        double end = clock_now(CLOCK_MONOTONIC) + opt_real("spin", 0) * 1e-3;
        while (clock_now(CLOCK_MONOTONIC) < end) {}
        CRT_AWAIT(crt_yield_now(cx));
    }
    CRT_END;
}

// Serves until it is killed, or `life` seconds; the load generator measures. Port 0: any free one. Prints
// its address when it is ready.
static void serve(crt_fn fn, size_t frame_size)
{
    char address[64];
    prepare_to_serve();
    crt_handle *handle = crt_runtime_handle(new_runtime());
    listen_frame f = { .r = 0 };
    must(crt_block_on(runtime, listen_run, &f));
    must(crt_addr_format(&f.addr, address, sizeof address));
    if (opt_num("spin", 0)) must(crt_handle_spawn(handle, spin_run, &no_frame));
    say_listening(address);
    IN_TASK(runtime, accept_run,
            &(accept_frame){ .listener = f.listener, .serve = fn, .frame_size = frame_size, .n = SIZE_MAX });
}

static void serve_echo(const char *name)
{
    (void)name;
    if (opt_num("lean", 0)) serve(lean_run, sizeof(lean_frame));
    else serve(echo_run, sizeof(echo_frame));
}

static void serve_http(const char *name)
{
    (void)name;
    serve(http_run, sizeof(http_frame));
}

// Clients and echo server in one runtime: `conns` connections over the loopback, n round trips of 64 bytes in all.
typedef struct client_conn_frame {
    crt_frame co;
    crt_stream *peer;
    crt_poll r;
    size_t n, i;
    char out[64], in[64];
} client_conn_frame;

static crt_poll client_conn_run(void *frame, crt_cx *cx)
{
    client_conn_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++) {
        CRT_AWAIT(self->r = crt_write_all(cx, self->peer, self->out, sizeof self->out));
        must(self->r);
        CRT_AWAIT(self->r = crt_read_exact(cx, self->peer, self->in, sizeof self->in));
        must(self->r);
    }
    countdown_one();
    CRT_FINALLY
        crt_close(&self->peer);
    CRT_END;
}

typedef struct pairs_frame {
    crt_frame co;
    crt_listener *listener;
    crt_stream **peers;
    const char *address;
    size_t conns, n, i;
    crt_poll r;
} pairs_frame;

static crt_poll echo_pairs_run(void *frame, crt_cx *cx)
{
    pairs_frame *self = frame;
    CRT_BEGIN(self, cx);
    must(crt_spawn(cx, accept_run, &(accept_frame){ .listener = self->listener, .serve = echo_run, .n = self->conns,
                                                     .frame_size = sizeof(echo_frame) }));
    for (self->i = 0; self->i < self->conns; self->i++) {
        CRT_AWAIT(self->r = crt_tcp_connect(cx, self->address, &self->peers[self->i]));
        must(self->r);
    }
    meter_start();
    countdown_start(self->conns);
    for (size_t i = 0; i < self->conns; i++)
        must(crt_spawn(cx, client_conn_run, &(client_conn_frame){ .peer = self->peers[i],
                                                                  .n = self->n / self->conns }));
    CRT_AWAIT(crt_notified(cx, &done.zero));
    meter_stop();
    CRT_END;
}

static void echo_pairs(const char *name)
{
    char address[64];
    pairs_frame f = { .conns = opt_num("conns", 10), .n = opt_num("n", 10000), .address = address };
    listen_frame l = { .r = 0 };
    f.peers = must_alloc(f.conns, sizeof *f.peers);
    must(crt_block_on(new_runtime(), listen_run, &l));
    must(crt_addr_format(&l.addr, address, sizeof address));
    f.listener = l.listener;
    MEASURE(runtime, echo_pairs_run, &f);
    report(name, text("conns=%zu,n=%zu", f.conns, f.n), f.n, "");
    crt_close(&l.listener);
}

// ---------------------------------------------------------------------------------------------- main

static const struct {
    const char *name;
    void (*run)(const char *name);
} workloads[] = {
    { "spawn_many_local", spawn_many_local },
    { "spawn_join_local", spawn_join_local },
    { "spawn_many_remote_idle", spawn_many_remote_idle },
    { "chained_spawn", chained_spawn },
    { "yield_many", yield_many },
    { "yield_one", yield_one },
    { "ping_pong", ping_pong },
    { "fib", fib },
    { "skynet", skynet },
    { "mem", mem },
    { "timer_cancel", timer_cancel },
    { "timeout_ready", timeout_ready },
    { "timeout_yield", timeout_yield },
    { "sleep_fixed", sleep_fixed },
    { "sleep_rand", sleep_rand },
    { "spawn_blocking", spawn_blocking },
    { "spawn_blocking_seq", spawn_blocking_seq },
    { "oneshot", oneshot },
    { "notify_pingpong", notify_pingpong },
    { "mutex", mutex },
    { "mutex_uncontended", mutex_uncontended },
    { "semaphore", semaphore },
    { "semaphore_uncontended", semaphore_uncontended },
    { "rwlock_read", rwlock_read },
#ifdef CRT_HAS_MPSC
    { "mpsc", mpsc },
    { "mpsc_uncontended", mpsc_uncontended },
    { "request_reply", request_reply },
#endif
#ifdef CRT_HAS_CHANNELS
    { "broadcast", broadcast },
    { "broadcast_stream", broadcast_stream },
    { "watch", watch },
    { "chan_bytes", chan_bytes },
#endif
    { "empty", empty },
    { "idle", idle },
    { "echo_pairs", echo_pairs },
    { "serve_echo", serve_echo },
    { "serve_http", serve_http },
};

int main(int argc, char **argv)
{
    const char *name = take_args(argc, argv);
    for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++)
        if (!strcmp(workloads[i].name, name)) {
            workloads[i].run(name);
            crt_runtime_drop(&runtime);
            return 0;
        }
    die("unknown workload %s", name);
}
