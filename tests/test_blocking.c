// The blocking pool and crt_block_in_place. Thread creation goes through a function of
// this file, so that it can be made to fail.
#include <pthread.h>

static int create_fails;     // atomic: so many calls from now on fail (-1: all)
static int create_after;     // atomic: so many succeed first
static int created;          // atomic
static void (*create_hook)(void);   // runs inside a call that fails
static int real_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
    return pthread_create(t, a, fn, arg);
}
#ifdef _WIN32   // crt's threads come from here there
#include <process.h>
static uintptr_t real_begin(void *security, unsigned stack, unsigned(__stdcall *fn)(void *), void *arg, unsigned flags, unsigned *id)
{
    return _beginthreadex(security, stack, fn, arg, flags, id);
}
static uintptr_t test_begin(void *security, unsigned stack, unsigned(__stdcall *fn)(void *), void *arg, unsigned flags, unsigned *id);
#define _beginthreadex test_begin
#else
static int test_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
#define pthread_create test_create
#endif

#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

#define SHARED(x) __atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define SET(x, v) __atomic_store_n(&(x), (v), __ATOMIC_SEQ_CST)
#define ADD(x, v) __atomic_fetch_add(&(x), (v), __ATOMIC_SEQ_CST)

// Is this one to fail?
static bool create_refused(void)
{
    if (SHARED(create_after) > 0) {
        ADD(create_after, -1);
    } else if (SHARED(create_fails)) {
        if (SHARED(create_fails) > 0) ADD(create_fails, -1);
        void (*hook)(void) = create_hook;
        create_hook = NULL;
        if (hook) hook();
        return true;
    }
    ADD(created, 1);
    return false;
}
#ifdef _WIN32
static uintptr_t test_begin(void *security, unsigned stack, unsigned(__stdcall *fn)(void *), void *arg, unsigned flags, unsigned *id)
{
    return create_refused() ? (errno = EAGAIN, 0) : real_begin(security, stack, fn, arg, flags, id);
}
#else
static int test_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
    return create_refused() ? EAGAIN : real_create(t, a, fn, arg);
}
#endif

static int64_t real_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
static void pause_ms(int ms) { (void)test_pause_us(ms * 1000L); }
#define WAIT_FOR(condition)                                                                \
    do {                                                                                   \
        int64_t until__ = real_now() + CRT_SEC(5);                                         \
        while (!(condition) && real_now() < until__) test_pause_us(300);                          \
        CHECK(condition);                                                                  \
    } while (0)

#define COUNTED .allocator = TEST_COUNTED
#define LOGGED .log = {test_log, NULL, 0}

static crt_runtime *runtime(const crt_config *c)
{
    crt_runtime *rt = NULL;
    CHECK_EQ(crt_runtime_new(c, &rt), 0);
    return rt;
}
static crt_runtime_metrics metrics(crt_runtime *rt)
{
    crt_runtime_metrics m;
    CHECK_EQ(crt_metrics(rt, &m), 0);
    return m;
}

// --- jobs

static int ran, running, most_running, gate;   // atomic
static intptr_t plain_job(void *arg)
{
    ADD(ran, 1);
    return (intptr_t)arg;
}
static intptr_t gated_job(void *arg)
{
    int now = ADD(running, 1) + 1;
    int most = SHARED(most_running);
    while (now > most && !__atomic_compare_exchange_n(&most_running, &most, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {}
    while (!SHARED(gate)) test_pause_us(200);
    ADD(running, -1);
    ADD(ran, 1);
    return (intptr_t)arg;
}
static intptr_t sleep_job(void *arg)
{
    ADD(running, 1);
    pause_ms((int)(intptr_t)arg);
    ADD(ran, 1);
    return 1;
}
static void reset_jobs(void)
{
    SET(ran, 0);
    SET(running, 0);
    SET(most_running, 0);
    SET(gate, 0);
}
static void open_gate(void) { SET(gate, 1); }

typedef struct frame {
    crt_frame co;
    int i, n;
    crt_join_handle *join[64];
    crt_join_handle *one;
    intptr_t result;
    crt_poll r, r2;
    crt_timer timer;
    crt_runtime *rt;
    clock_t before;
} frame;

// ---------------------------------------------------------------------------
// the pool
// ---------------------------------------------------------------------------

static crt_poll results_run(void *f, crt_cx *cx)
{
    static const intptr_t values[] = {0, 7, -1, INTPTR_MAX, INTPTR_MIN, (intptr_t)CRT_PENDING, (intptr_t)CRT_UNWIND,
                                      CRT_EPANIC, CRT_ECANCELED};
    frame *self = f;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < (int)(sizeof values / sizeof *values); self->i++) {
        CHECK_EQ(crt_spawn_blocking(cx, &self->one, plain_job, (void *)values[self->i]), 0);
        self->result = 12345;
        CRT_AWAIT(self->r = crt_join(cx, &self->one, &self->result));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(self->result, values[self->i]);
        CHECK(self->one == NULL);
    }
    CHECK_EQ(crt_spawn_blocking(cx, &self->one, NULL, NULL), CRT_EINVAL);
    CHECK(self->one == NULL);
    CHECK_EQ(crt_spawn_blocking(cx, NULL, plain_job, NULL), 0);   // detached
    while (SHARED(ran) < (int)(sizeof values / sizeof *values) + 1) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CRT_END;
}
static void a_job_gives_any_result(crt_runtime *rt)
{
    frame f = {.i = 0};
    reset_jobs();
    CHECK_EQ(crt_block_on(rt, results_run, &f), 0);
}

static crt_poll on_demand_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CHECK_EQ(metrics(cx->rt).num_blocking_threads, 0);
    for (self->i = 0; self->i < 60; self->i++) {
        CHECK_EQ(crt_spawn_blocking(cx, &self->one, plain_job, NULL), 0);
        CRT_AWAIT(crt_join(cx, &self->one, NULL));
        while (metrics(cx->rt).num_idle_blocking_threads != metrics(cx->rt).num_blocking_threads)
            CRT_AWAIT(crt_sleep(cx, CRT_US(100)));
    }
    CHECK_EQ(metrics(cx->rt).num_blocking_threads, 1);
    CRT_END;
}
static void threads_start_on_demand_and_are_used_again(crt_runtime *rt)
{
    frame f = {.i = 0};
    reset_jobs();
    CHECK_EQ(crt_block_on(rt, on_demand_run, &f), 0);
}

static crt_poll together_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 20; self->i++)
        CHECK_EQ(crt_spawn_blocking(cx, &self->join[self->i], gated_job, (void *)(intptr_t)self->i), 0);
    while (SHARED(running) < 20) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));   // all at once
    open_gate();
    for (self->i = 0; self->i < 20; self->i++) {
        CRT_AWAIT(crt_join(cx, &self->join[self->i], &self->result));
        CHECK_EQ(self->result, self->i);
    }
    CRT_END;
}
static void jobs_that_block_get_a_thread_each(crt_runtime *rt)
{
    frame f = {.i = 0};
    reset_jobs();
    CHECK_EQ(crt_block_on(rt, together_run, &f), 0);
    CHECK_EQ(metrics(rt).num_blocking_threads, 20);
}

// The second job of a poll is signalled when the poll ends, or when it blocks.
static intptr_t until_one_ran(void *arg)
{
    while (!SHARED(ran)) test_pause_us(200);
    return (intptr_t)arg;
}
static crt_poll wait_in_place_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_blocking(cx, &self->join[0], gated_job, (void *)0), 0);
    while (!SHARED(running)) test_pause_us(200);   // its thread has seen that nothing else waits
    CHECK_EQ(crt_spawn_blocking(cx, &self->join[1], plain_job, (void *)1), 0);
    CHECK_EQ(crt_block_in_place(cx, until_one_ran, (void *)7), 7);
    open_gate();
    for (self->i = 0; self->i < 2; self->i++) {
        CRT_AWAIT(crt_join(cx, &self->join[self->i], &self->result));
        CHECK_EQ(self->result, self->i);
    }
    CRT_END;
}
static void block_in_place_may_wait_for_a_job_of_the_same_poll(void)
{
    crt_runtime *rt = runtime(&(crt_config){.worker_threads = 1, LOGGED});
    frame f = {.i = 0};
    reset_jobs();
    CHECK_EQ(crt_block_on(rt, wait_in_place_run, &f), 0);
    crt_runtime_drop(&rt);
}

// Jobs one at a time: whoever spins for the next sleeps when there is none.
static crt_poll in_turn_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 2000; self->i++) {
        CHECK_EQ(crt_spawn_blocking(cx, &self->join[0], plain_job, (void *)(intptr_t)self->i), 0);
        CRT_AWAIT(crt_join(cx, &self->join[0], &self->result));
        CHECK_EQ(self->result, self->i);
    }
    CRT_AWAIT(crt_sleep(cx, CRT_MS(20)));
    self->before = clock();
    CRT_AWAIT(crt_sleep(cx, CRT_MS(200)));
#ifndef _WIN32   // there it is the time of day
    CHECK((clock() - self->before) * 1000 / CLOCKS_PER_SEC < 60);
#endif
    CRT_END;
}
static void who_spins_for_jobs_sleeps_in_the_end(crt_runtime *rt)
{
    frame f = {.i = 0};
    reset_jobs();
    CHECK_EQ(crt_block_on(rt, in_turn_run, &f), 0);
    CHECK_EQ(ran, 2000);
}

static void the_cap_holds_and_the_rest_queues(void)
{
    for (int cap = 1; cap <= 3; cap++) {
        crt_runtime *rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD, .max_blocking_threads = cap});
        crt_handle *h = crt_runtime_handle(rt);
        crt_join_handle *join[12];
        reset_jobs();
        for (int i = 0; i < 12; i++)
            CHECK_EQ(crt_handle_spawn_blocking(h, &join[i], gated_job, (void *)(intptr_t)i), 0);
        WAIT_FOR(SHARED(running) == cap);
        pause_ms(20);
        CHECK_EQ(SHARED(running), cap);
        CHECK_EQ(metrics(rt).num_blocking_threads, cap);
        CHECK_EQ(metrics(rt).blocking_queue_depth, 12 - cap);
        open_gate();
        for (int i = 0; i < 12; i++) {
            intptr_t r = -1;
            CHECK_EQ(crt_join_blocking(&join[i], &r), 0);
            CHECK_EQ(r, i);
        }
        CHECK_EQ(most_running, cap);
        CHECK_EQ(metrics(rt).blocking_queue_depth, 0);
        crt_handle_drop(&h);
        crt_runtime_drop(&rt);
    }
}
static int order[64], ordered;   // atomic
static intptr_t ordered_job(void *arg)
{
    order[ADD(ordered, 1)] = (int)(intptr_t)arg;
    return 0;
}
static void queued_jobs_begin_in_order(void)
{
    crt_runtime *rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD, .max_blocking_threads = 1});
    crt_handle *h = crt_runtime_handle(rt);
    crt_join_handle *last = NULL;
    reset_jobs();
    ordered = 0;
    CHECK_EQ(crt_handle_spawn_blocking(h, NULL, gated_job, NULL), 0);
    for (int i = 0; i < 64; i++) CHECK_EQ(crt_handle_spawn_blocking(h, i == 63 ? &last : NULL, ordered_job, (void *)(intptr_t)i), 0);
    open_gate();
    CHECK_EQ(crt_join_blocking(&last, NULL), 0);
    for (int i = 0; i < 64; i++) CHECK_EQ(order[i], i);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}

static int started, stopped;   // atomic
static void on_start(void *user) { (void)user; ADD(started, 1); }
static void on_stop(void *user) { (void)user; ADD(stopped, 1); }
static void idle_threads_end_after_the_keep_alive(void)
{
    crt_runtime *rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD, .thread_keep_alive = CRT_MS(30),
                                            .on_thread_start = on_start, .on_thread_stop = on_stop});
    crt_handle *h = crt_runtime_handle(rt);
    crt_join_handle *join[5];
    reset_jobs();
    SET(started, 0);
    SET(stopped, 0);
    for (int round = 1; round <= 2; round++) {
        SET(gate, 0);
        for (int i = 0; i < 5; i++) CHECK_EQ(crt_handle_spawn_blocking(h, &join[i], gated_job, NULL), 0);
        WAIT_FOR(SHARED(running) == 5);
        int64_t begun = real_now();
        open_gate();
        for (int i = 0; i < 5; i++) CHECK_EQ(crt_join_blocking(&join[i], NULL), 0);
        WAIT_FOR(metrics(rt).num_blocking_threads == 0);
        CHECK(real_now() - begun >= CRT_MS(30));
        WAIT_FOR(SHARED(stopped) == 5 * round);
        CHECK_EQ(SHARED(started), 5 * round);
        CHECK_EQ(metrics(rt).num_idle_blocking_threads, 0);
    }
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
    CHECK_EQ(started, stopped);
}
// The moment at which a thread gives up waiting and a job comes.
static void a_job_that_meets_a_thread_about_to_end_is_not_lost(void)
{
    crt_runtime *rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD, .thread_keep_alive = CRT_US(400),
                                            .max_blocking_threads = 1});
    crt_handle *h = crt_runtime_handle(rt);
    reset_jobs();
    for (int i = 0; i < 1500; i++) {
        crt_join_handle *join;
        CHECK_EQ(crt_handle_spawn_blocking(h, &join, plain_job, NULL), 0);
        CHECK_EQ(crt_join_blocking(&join, NULL), 0);
        test_pause_us((useconds_t)(300 + i % 200));
    }
    CHECK_EQ(ran, 1500);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}

static crt_poll abort_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_blocking(cx, &self->join[0], gated_job, (void *)5), 0);
    while (!SHARED(running)) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CHECK_EQ(crt_spawn_blocking(cx, &self->join[1], plain_job, NULL), 0);
    CHECK_EQ(crt_spawn_blocking(cx, &self->join[2], plain_job, (void *)6), 0);
    CHECK(!crt_is_finished(self->join[1]));
    crt_abort(self->join[1]);   // queued: ends at once
    CHECK(crt_is_finished(self->join[1]));
    crt_abort(self->join[1]);
    CRT_AWAIT(self->r = crt_join(cx, &self->join[1], &self->result));
    CHECK_EQ(self->r, CRT_ECANCELED);
    CHECK_EQ(SHARED(ran), 0);
    crt_abort(self->join[0]);   // begun: goes on to its end
    CHECK(!crt_is_finished(self->join[0]));
    open_gate();
    CRT_AWAIT(self->r = crt_join(cx, &self->join[0], &self->result));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->result, 5);
    while (!crt_is_finished(self->join[2])) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    crt_abort(self->join[2]);   // ended: its result stays
    CRT_AWAIT(self->r = crt_join(cx, &self->join[2], &self->result));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->result, 6);
    CHECK_EQ(SHARED(ran), 2);
    CRT_END;
}
static void abort_stops_a_job_only_before_it_begins(crt_runtime *rt)
{
    frame f = {.i = 0};
    reset_jobs();
    CHECK_EQ(crt_block_on(rt, abort_run, &f), 0);
}
static crt_poll join_later_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_blocking(cx, &self->one, gated_job, (void *)9), 0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_join(cx, &self->one, &self->result)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK(self->one != NULL);   // the handle is kept, the job goes on
    open_gate();
    CRT_AWAIT(self->r = crt_join(cx, &self->one, &self->result));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->result, 9);
    CRT_END;
}
static void a_join_that_was_given_up_can_be_made_later(crt_runtime *rt)
{
    frame f = {.i = 0};
    reset_jobs();
    CHECK_EQ(crt_block_on(rt, join_later_run, &f), 0);
}

// A job is inside the runtime, but not inside a task.
static crt_poll three_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CRT_RETURN(3);
    CRT_END;
}
static intptr_t inside_job(void *arg)
{
    crt_runtime *rt = arg;
    crt_handle *h = crt_handle_current();
    crt_join_handle *join, *job;
    frame f = {.i = 0};
    intptr_t a = 0, b = 0;
    CHECK(h == (crt_handle *)rt);
    CHECK_EQ(crt_handle_spawn_join(h, &join, three_run, &f), 0);
    CHECK_EQ(crt_join_blocking(&join, &a), 0);
    CHECK_EQ(crt_handle_spawn_blocking(h, &job, plain_job, (void *)4), 0);
    CHECK_EQ(crt_join_blocking(&job, &b), 0);
    intptr_t c = crt_block_on(rt, three_run, &f);
    crt_handle_drop(&h);
    return a * 100 + b * 10 + c;
}
static crt_poll inside_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_blocking(cx, &self->one, inside_job, cx->rt), 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->one, &self->result));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->result, 343);
    CRT_END;
}
static void a_job_may_spawn_join_and_block_on(crt_runtime *rt)
{
    frame f = {.i = 0};
    reset_jobs();
    CHECK(crt_handle_current() == NULL);
    CHECK_EQ(crt_block_on(rt, inside_run, &f), 0);
}

static uint32_t job_ran[4 * 600];   // atomic
static intptr_t marked_job(void *arg)
{
    ADD(job_ran[(intptr_t)arg], 1);
    return 0;
}
typedef struct storm {
    crt_handle *h;
    int number;
} storm;
static void *storm_main(void *arg)
{
    storm *s = arg;
    crt_join_handle *join[600];
    for (int i = 0; i < 600; i++) {
        CHECK_EQ(crt_handle_spawn_blocking(s->h, &join[i], marked_job, (void *)(intptr_t)(s->number * 600 + i)), 0);
        if (i % 64 == 0) test_pause_us(300);
        if (i % 5 == 0) crt_abort(join[i]);
    }
    for (int i = 0; i < 600; i++) {
        int r = crt_join_blocking(&join[i], NULL);
        CHECK_EQ(job_ran[s->number * 600 + i], r == 0);
        CHECK(r == 0 || (r == CRT_ECANCELED && i % 5 == 0));
    }
    return NULL;
}
static void many_threads_hand_over_jobs_at_once(crt_runtime *rt)
{
    crt_handle *h = crt_runtime_handle(rt);
    pthread_t thread[4];
    storm s[4];
    memset(job_ran, 0, sizeof job_ran);
    for (int i = 0; i < 4; i++) {
        s[i] = (storm){h, i};
        real_create(&thread[i], NULL, storm_main, &s[i]);
    }
    for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
    crt_handle_drop(&h);
    CHECK_EQ(metrics(rt).blocking_queue_depth, 0);
}

// ---------------------------------------------------------------------------
// block_in_place
// ---------------------------------------------------------------------------

static int others_ran;   // atomic
static crt_poll other_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    ADD(others_ran, 1);
    CRT_END;
}
static intptr_t until_others(void *arg)
{
    int64_t until = real_now() + CRT_SEC(3);
    while (SHARED(others_ran) < (int)(intptr_t)arg && real_now() < until) test_pause_us(200);
    return SHARED(others_ran);
}
static crt_poll in_place_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 10; self->i++) CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], other_run, &(frame){.i = 0}), 0);
    self->result = crt_block_in_place(cx, until_others, (void *)10);
    CHECK_EQ(self->result, 10);   // they ran while this thread blocked
    // The task goes on as any other: in this poll and after awaits.
    for (self->i = 0; self->i < 10; self->i++) CRT_AWAIT(crt_join(cx, &self->join[self->i], NULL));
    CRT_YIELD();
    CHECK_EQ(crt_spawn_join(cx, &self->one, other_run, &(frame){.i = 0}), 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->one, NULL));
    CHECK_EQ(self->r, 0);
    self->result = crt_block_in_place(cx, plain_job, (void *)77);
    CHECK_EQ(self->result, 77);
    CRT_YIELD();   // straight after it
    self->result = crt_block_in_place(cx, sleep_job, (void *)3);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(2)));
    self->result = crt_block_in_place(cx, sleep_job, (void *)3);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(2), crt_sleep(cx, CRT_SEC(5))));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    self->result = crt_block_in_place(cx, sleep_job, (void *)3);
    CHECK_EQ(crt_spawn_join(cx, &self->one, other_run, &(frame){.i = 0}), 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->one, NULL));
    self->result = crt_block_in_place(cx, sleep_job, (void *)3);
    CRT_RETURN(5);
    CRT_END;
}
static void block_in_place_hands_the_worker_over(void)
{
    for (int n = 1; n <= 4; n += 3) {
        crt_runtime *rt = runtime(&(crt_config){.worker_threads = n, COUNTED});
        for (int i = 0; i < 5; i++) {
            frame f = {.i = 0};
            reset_jobs();
            SET(others_ran, 0);
            CHECK_EQ(crt_block_on(rt, in_place_run, &f), 5);
        }
        crt_runtime_drop(&rt);
        test_all_freed();
    }
}
// Nobody can come for the worker (the only pool thread is taken): it is kept.
static crt_poll kept_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_blocking(cx, &self->one, gated_job, NULL), 0);
    while (!SHARED(running)) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    for (self->i = 0; self->i < 20; self->i++) {
        self->rt = (crt_runtime *)(void *)cx->worker;
        CHECK_EQ(crt_block_in_place(cx, plain_job, (void *)8), 8);
        CHECK((void *)cx->worker == (void *)self->rt);
        CRT_YIELD();
    }
    open_gate();
    CRT_AWAIT(crt_join(cx, &self->one, NULL));
    CRT_END;
}
static void block_in_place_takes_the_worker_back_if_nobody_came(void)
{
    crt_runtime *rt = runtime(&(crt_config){.worker_threads = 1, .max_blocking_threads = 1});
    frame f = {.i = 0};
    reset_jobs();
    CHECK_EQ(crt_block_on(rt, kept_run, &f), 0);
    crt_runtime_drop(&rt);
}
// The thread that took over a worker must not count against the pool's cap for ever.
static crt_poll capacity_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 5; self->i++) {
        CHECK_EQ(crt_block_in_place(cx, sleep_job, (void *)10), 1);
        CRT_YIELD();
        CHECK_EQ(crt_spawn_blocking(cx, &self->one, plain_job, NULL), 0);
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(500), crt_join(cx, &self->one, NULL)));
        CHECK_EQ(self->r, 0);
        if (self->r) crt_abort(self->one);
        if (self->r) crt_detach(&self->one);
    }
    CRT_END;
}
static void block_in_place_does_not_eat_up_the_pool(void)
{
    for (int n = 1; n <= 2; n++) {
        crt_runtime *rt = runtime(&(crt_config){.worker_threads = n, .max_blocking_threads = n});
        frame f = {.i = 0};
        reset_jobs();
        CHECK_EQ(crt_block_on(rt, capacity_run, &f), 0);
        crt_runtime_drop(&rt);
    }
}

// Inside f one may block, also on the runtime itself; and nest.
typedef struct nest {
    crt_cx *cx;
    int depth;
} nest;
static intptr_t nested_block(void *arg)
{
    nest *n = arg, deeper = {n->cx, n->depth + 1};
    frame f = {.i = 0};
    CHECK_EQ(crt_block_on(n->cx->rt, three_run, &f), 3);
    intptr_t below = n->depth < 3 ? crt_block_in_place(n->cx, nested_block, &deeper) : 0;
    CHECK_EQ(crt_block_on(n->cx->rt, three_run, &f), 3);   // still allowed after the inner one
    return below + 1;
}
static crt_poll nested_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    nest n = {cx, 1};
    CHECK_EQ(crt_block_in_place(cx, nested_block, &n), 3);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CRT_RETURN(crt_block_on(cx->rt, three_run, self));   // outside again: refused
    CRT_END;
}
static void block_in_place_nests_and_allows_block_on(void)
{
    for (int n = 1; n <= 4; n += 3) {
        crt_runtime *rt = runtime(&(crt_config){.worker_threads = n, LOGGED});
        frame f = {.i = 0};
        CHECK_EQ(crt_block_on(rt, nested_run, &f), CRT_ENESTED);
        crt_runtime_drop(&rt);
    }
}
static crt_poll refused_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_block_in_place(cx, plain_job, NULL), CRT_ENOCONTEXT);
    CHECK_EQ(SHARED(ran), 0);
    CRT_END;
}
typedef struct local {
    crt_frame co;
    crt_local_set set;
    crt_join_handle *join;
    crt_poll r;
} local;
static crt_poll local_refused_run(void *f, crt_cx *cx)
{
    local *self = f;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_local_set_spawn_join(cx, &self->set, &self->join, refused_run, &(frame){.i = 0}), 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK_EQ(self->r, 0);
    // Beside local tasks it works, and they stay on their thread.
    CHECK_EQ(crt_block_in_place(cx, plain_job, (void *)3), 3);
    CRT_END;
}
static void block_in_place_is_refused_where_it_cannot_work(void)
{
    frame f = {.i = 0};
    local l = {.r = 0};
    reset_jobs();
    crt_runtime *rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD});
    CHECK_EQ(crt_block_on(rt, refused_run, &f), 0);
    crt_runtime_drop(&rt);
    rt = runtime(&(crt_config){.worker_threads = 2});
    CHECK_EQ(crt_block_on(rt, local_refused_run, &l), 0);
    crt_runtime_drop(&rt);
}
// Many tasks block in place while others do as usual.
static crt_poll mix_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 12; self->i++) {
        if ((self->n + self->i) % 3 == 0) CHECK_EQ(crt_block_in_place(cx, sleep_job, (void *)1), 1);
        else if ((self->n + self->i) % 3 == 1) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
        else CRT_YIELD();
    }
    CRT_END;
}
static crt_poll mixes_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 48; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], mix_run, &(frame){.n = self->i}), 0);
    for (self->i = 0; self->i < 48; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        CHECK_EQ(self->r, 0);
    }
    CRT_END;
}
static void many_tasks_block_in_place(void)
{
    crt_runtime *rt = runtime(&(crt_config){.worker_threads = 4, COUNTED});
    frame f = {.i = 0};
    reset_jobs();
    CHECK_EQ(crt_block_on(rt, mixes_run, &f), 0);
    CHECK_EQ(ran, 48 * 4);
    WAIT_FOR(metrics(rt).num_alive_tasks == 0);   // counted just after the join
    CHECK_EQ(crt_runtime_shutdown(rt, CRT_SEC(5)), 0);
    crt_runtime_drop(&rt);
    test_all_freed();
}

// ---------------------------------------------------------------------------
// shutdown
// ---------------------------------------------------------------------------

// Runs until `last_in_line`, which waits behind it, has been dropped.
static crt_join_handle *last_in_line;
static intptr_t first_job(void *unused)
{
    (void)unused;
    ADD(running, 1);
    while (!SHARED(last_in_line) || !crt_is_finished(SHARED(last_in_line))) pause_ms(1);
    ADD(ran, 1);
    return 1;
}
static void shutdown_waits_for_what_runs_and_drops_what_queues(crt_runtime *rt)
{
    crt_join_handle *join[4], *late = NULL;
    reset_jobs();
    SET(last_in_line, NULL);
    // All of the pool's threads are taken: the other jobs queue.
    crt_runtime *small = runtime(&(crt_config){.flavor = crt_runtime_config(rt)->flavor,
        .worker_threads = crt_runtime_config(rt)->worker_threads, .max_blocking_threads = 1});
    crt_handle *s = crt_runtime_handle(small);
    CHECK_EQ(crt_handle_spawn_blocking(s, &join[0], first_job, NULL), 0);
    WAIT_FOR(SHARED(running) == 1);
    for (int i = 1; i < 4; i++) CHECK_EQ(crt_handle_spawn_blocking(s, &join[i], plain_job, NULL), 0);
    SET(last_in_line, join[3]);
    CHECK_EQ(crt_runtime_shutdown(small, CRT_FOREVER), 0);
    CHECK_EQ(ran, 1);
    CHECK_EQ(crt_join_blocking(&join[0], NULL), 0);
    for (int i = 1; i < 4; i++) CHECK_EQ(crt_join_blocking(&join[i], NULL), CRT_ECANCELED);
    CHECK_EQ(crt_handle_spawn_blocking(s, &late, plain_job, NULL), CRT_ESHUTDOWN);
    CHECK(late == NULL);
    crt_runtime_drop(&small);
    CHECK_EQ(crt_handle_spawn_blocking(s, &late, plain_job, NULL), CRT_ESHUTDOWN);
    crt_handle_drop(&s);
}
static void shutdown_leaves_a_stuck_job_behind_at_its_deadline(void)
{
    for (int flavor = 0; flavor < 2; flavor++)
        for (int timeout = 0; timeout <= 50; timeout += 50) {
            crt_runtime *rt = runtime(&(crt_config){.flavor = flavor, .worker_threads = flavor ? 1 : 2, COUNTED, LOGGED});
            crt_handle *h = crt_runtime_handle(rt);
            crt_join_handle *join;
            reset_jobs();
            test_log_clear();
            CHECK_EQ(crt_handle_spawn_blocking(h, &join, gated_job, (void *)11), 0);
            WAIT_FOR(SHARED(running) == 1);
            int64_t begun = real_now();
            CHECK_EQ(crt_runtime_shutdown(rt, CRT_MS(timeout)), 1);
            CHECK(real_now() - begun >= CRT_MS(timeout));
            CHECK(real_now() - begun < CRT_MS(timeout + 500));
            char where[32];
            snprintf(where, sizeof where, "is at 0x%lx", (unsigned long)(uintptr_t)gated_job);
            CHECK(test_log_has("blocking job") && test_log_has(where));
            crt_runtime_drop(&rt);
            crt_handle_drop(&h);
            CHECK_EQ(SHARED(ran), 0);
            CHECK(!crt_is_finished(join));
            open_gate();   // it ends well, whenever that is
            intptr_t r = 0;
            CHECK_EQ(crt_join_blocking(&join, &r), 0);
            CHECK_EQ(r, 11);
            test_all_freed();
        }
}
static void an_idle_pool_thread_is_nothing_left_behind(void)
{
    for (int flavor = 0; flavor < 2; flavor++) {
        crt_runtime *rt = runtime(&(crt_config){.flavor = flavor, .worker_threads = flavor ? 1 : 2, LOGGED});
        crt_handle *h = crt_runtime_handle(rt);
        crt_join_handle *join;
        test_log_clear();
        CHECK_EQ(crt_handle_spawn_blocking(h, &join, plain_job, NULL), 0);
        CHECK_EQ(crt_join_blocking(&join, NULL), 0);
        WAIT_FOR(metrics(rt).num_idle_blocking_threads == 1);
        CHECK_EQ(crt_runtime_shutdown(rt, 0), 0);
        CHECK(!test_log_has("did not end in time"));
        crt_handle_drop(&h);
        crt_runtime_drop(&rt);
    }
}

static int cleaned;   // atomic
static crt_poll outliving_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    self->result = crt_block_in_place(cx, gated_job, (void *)21);
    CHECK_EQ(self->result, 21);
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(100)));
    CRT_FINALLY
        ADD(cleaned, 1);
    CRT_END;
}
static void block_in_place_may_outlive_a_shutdown_with_deadline(void)
{
    for (int n = 1; n <= 4; n += 3)
        for (int timeout = 0; timeout <= 40; timeout += 40) {
            crt_runtime *rt = runtime(&(crt_config){.worker_threads = n, COUNTED, LOGGED});
            crt_handle *h = crt_runtime_handle(rt);
            reset_jobs();
            SET(cleaned, 0);
            CHECK_EQ(crt_handle_spawn(h, outliving_run, &(frame){.i = 0}), 0);
            WAIT_FOR(SHARED(running) == 1);
            pause_ms(10);   // let the worker be taken over
            int64_t begun = real_now();
            CHECK(crt_runtime_shutdown(rt, CRT_MS(timeout)) >= 1);
            CHECK(real_now() - begun < CRT_MS(timeout + 500));
            crt_handle_drop(&h);
            crt_runtime_drop(&rt);
            pause_ms(30);
            open_gate();   // the frame must still be there
            WAIT_FOR(SHARED(ran) == 1);
            test_all_freed();
            CHECK(SHARED(cleaned) <= 1);
        }
}
static void *open_later(void *unused)
{
    pause_ms(30);
    open_gate();
    return unused;
}
static void shutdown_forever_waits_for_block_in_place(void)
{
    for (int n = 1; n <= 4; n += 3) {
        crt_runtime *rt = runtime(&(crt_config){.worker_threads = n, COUNTED});
        crt_handle *h = crt_runtime_handle(rt);
        reset_jobs();
        SET(cleaned, 0);
        CHECK_EQ(crt_handle_spawn(h, outliving_run, &(frame){.i = 0}), 0);
        WAIT_FOR(SHARED(running) == 1);
        pthread_t opener;
        real_create(&opener, NULL, open_later, NULL);
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_FOREVER), 0);
        pthread_join(opener, NULL);
        CHECK_EQ(cleaned, 1);
        CHECK_EQ(ran, 1);
        crt_handle_drop(&h);
        crt_runtime_drop(&rt);
        test_all_freed();
    }
}

// ---------------------------------------------------------------------------
// no thread can be started
// ---------------------------------------------------------------------------

// In the system's words, not in crt's for CRT_EAGAIN, and with what can be done about it.
static void tell_what_the_system_said(const char *what)
{
    CHECK(test_log_has(what));
    CHECK(test_log_has(strerror(EAGAIN)));
    CHECK(test_log_has("ulimit -u"));
    CHECK(!test_log_has(crt_strerror(CRT_EAGAIN)));
}
typedef struct set_frame {
    crt_frame co;
    crt_join_set set;
    crt_poll r;
    int n;
} set_frame;
// A join set knows nothing of a job that was refused.
static crt_poll no_job_for_a_set_run(void *f, crt_cx *cx)
{
    set_frame *self = f;
    CRT_BEGIN(self, cx);
    for (self->n = 0; self->n < 2; self->n++) {
        CHECK_EQ(crt_join_set_spawn_blocking(cx, &self->set, plain_job, NULL), -EAGAIN);
        CHECK_EQ(crt_join_set_len(&self->set), 0);
        CRT_AWAIT(self->r = crt_join_set_next(cx, &self->set, NULL));
        CHECK_EQ(self->r, CRT_EEMPTY);
    }
    CRT_FINALLY
        crt_join_set_drop(&self->set);
    CRT_END;
}
static void without_any_thread_spawn_blocking_says_so(void)
{
    crt_runtime *rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD, COUNTED, LOGGED});
    crt_handle *h = crt_runtime_handle(rt);
    crt_join_handle *join;
    reset_jobs();
    test_log_clear();
    SET(create_fails, -1);
    for (int i = 0; i < 3; i++) {
        join = (crt_join_handle *)1;
        CHECK_EQ(crt_handle_spawn_blocking(h, &join, plain_job, NULL), -EAGAIN);
        CHECK(join == NULL);
        CHECK_EQ(crt_handle_spawn_blocking(h, NULL, plain_job, NULL), -EAGAIN);
    }
    tell_what_the_system_said("no thread for blocking work");
    CHECK_EQ(metrics(rt).num_blocking_threads, 0);
    CHECK_EQ(crt_block_on(rt, no_job_for_a_set_run, &(set_frame){.n = 0}), 0);
    SET(create_fails, 0);   // later there are threads again
    CHECK_EQ(crt_handle_spawn_blocking(h, &join, plain_job, (void *)1), 0);
    CHECK_EQ(crt_join_blocking(&join, NULL), 0);
    CHECK_EQ(ran, 1);       // those that were refused never run
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
    test_all_freed();
}
static void with_one_thread_left_jobs_wait_for_it(void)
{
    crt_runtime *rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD, LOGGED});
    crt_handle *h = crt_runtime_handle(rt);
    crt_join_handle *join[5];
    reset_jobs();
    SET(create_after, 1);
    SET(create_fails, -1);
    for (int i = 0; i < 5; i++) CHECK_EQ(crt_handle_spawn_blocking(h, &join[i], gated_job, (void *)(intptr_t)i), 0);
    WAIT_FOR(SHARED(running) == 1);
    open_gate();
    for (int i = 0; i < 5; i++) CHECK_EQ(crt_join_blocking(&join[i], NULL), 0);
    CHECK_EQ(most_running, 1);
    SET(create_fails, 0);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}
// While the only thread is being started somebody else hands in a job and relies on
// that thread. Then it cannot be started after all.
static crt_handle *meanwhile_handle;
static crt_join_handle *meanwhile_join;
static int meanwhile_error;
static void meanwhile(void)
{
    meanwhile_error = crt_handle_spawn_blocking(meanwhile_handle, &meanwhile_join, plain_job, NULL);
}
static void a_job_that_relied_on_a_failed_start_is_not_forgotten(void)
{
    crt_runtime *rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD, LOGGED});
    crt_join_handle *join;
    meanwhile_handle = crt_runtime_handle(rt);
    reset_jobs();
    create_hook = meanwhile;
    SET(create_fails, 1);
    int e = crt_handle_spawn_blocking(meanwhile_handle, &join, plain_job, NULL);
    CHECK(e == 0 || e == -EAGAIN);
    if (e == 0) CHECK_EQ(crt_join_blocking(&join, NULL), 0);
    // It was refused, or it ends: anything but waiting for ever.
    if (!meanwhile_error) {
        for (int i = 0; i < 500 && !crt_is_finished(meanwhile_join); i++) pause_ms(1);
        CHECK(crt_is_finished(meanwhile_join));
        crt_detach(&meanwhile_join);
    }
    crt_handle_drop(&meanwhile_handle);
    crt_runtime_drop(&rt);
}
static crt_poll in_place_alone_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    SET(create_fails, -1);
    for (self->i = 0; self->i < 5; self->i++) {
        CHECK_EQ(crt_block_in_place(cx, plain_job, (void *)4), 4);
        CRT_YIELD();
    }
    SET(create_fails, 0);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CRT_END;
}
static void block_in_place_works_without_another_thread(void)
{
    crt_runtime *rt = runtime(&(crt_config){.worker_threads = 1, LOGGED});
    frame f = {.i = 0};
    reset_jobs();
    CHECK_EQ(crt_block_on(rt, in_place_alone_run, &f), 0);
    CHECK_EQ(ran, 5);
    crt_runtime_drop(&rt);
}
static void a_runtime_whose_workers_cannot_start_is_undone(void)
{
    for (int good = 0; good < 4; good++) {
        crt_runtime *rt = (crt_runtime *)1;
        test_log_clear();
        SET(create_after, good);
        SET(create_fails, 1);
        CHECK_EQ(crt_runtime_new(&(crt_config){.worker_threads = 4, COUNTED, LOGGED}, &rt), -EAGAIN);
        CHECK(rt == NULL);
        CHECK(test_log_has("could not be built"));
        tell_what_the_system_said("for worker ");
        SET(create_fails, 0);
        SET(create_after, 0);
        test_all_freed();
    }
}

// ---------------------------------------------------------------------------
// the end of a task whose worker went on without it
// ---------------------------------------------------------------------------

static int off_parked, off_inside, off_taken, off_go;   // atomic
static intptr_t until_told(void *unused)
{
    (void)unused;
    SET(off_inside, 1);
    while (!SHARED(off_go)) test_pause_us(200);
    return 0;
}
typedef struct off_task {
    bool deaf;   // parks first, and takes no notice of its cancellation
    int polls;
} off_task;
static crt_poll off_run(void *f, crt_cx *cx)
{
    off_task *self = f;
    if (self->deaf && self->polls++ == 0) {
        SET(off_parked, 1);
        return CRT_PENDING;
    }
    crt_block_in_place(cx, until_told, NULL);
    return self->deaf ? CRT_PENDING : 7;
}
static crt_poll takes_over_run(void *f, crt_cx *cx)
{
    (void)f, (void)cx;
    SET(off_taken, 1);
    return 0;
}
typedef struct off_opener {
    crt_frame co, body;
    crt_scope scope;
    bool deaf;
    crt_poll r;
} off_opener;
static crt_poll off_body(off_opener *self, crt_cx *cx)
{
    CRT_BEGIN(&self->body, cx);
    CHECK_EQ(crt_scope_spawn(cx, &self->scope, off_run, &(off_task){.deaf = self->deaf}), 0);
    while (self->deaf && !SHARED(off_parked)) CRT_YIELD();
    if (self->deaf) crt_scope_cancel(&self->scope);
    CRT_RETURN(5);
    CRT_END;
}
static crt_poll off_opener_run(void *f, crt_cx *cx)
{
    off_opener *self = f;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_scope_run(cx, &self->scope, off_body(self, cx)));
    CHECK_EQ(crt_scope_len(&self->scope), 0);
    CRT_RETURN(self->r);
    CRT_END;
}
static int off_polls;   // atomic
static void counts_poll(void *unused, const crt_task_meta *m)
{
    (void)unused, (void)m;
    ADD(off_polls, 1);
}
static void the_end_of_a_task_without_its_worker(void)
{
    for (int kind = 0; kind < 4; kind++) {
        bool deaf = kind & 1, in_scope = kind & 2;
        crt_runtime *rt = runtime(&(crt_config){.worker_threads = 1, LOGGED, .on_after_poll = counts_poll});
        crt_handle *h = crt_runtime_handle(rt);
        crt_join_handle *join;
        intptr_t result = -1;
        int n;
        SET(off_polls, 0);
        SET(off_parked, 0), SET(off_inside, 0), SET(off_taken, 0), SET(off_go, 0);
        if (in_scope) {
            CHECK_EQ(crt_handle_spawn_join(h, &join, off_opener_run, &(off_opener){.deaf = deaf}), 0);
        } else {
            CHECK_EQ(crt_handle_spawn_join(h, &join, off_run, &(off_task){.deaf = deaf}), 0);
            if (deaf) WAIT_FOR(SHARED(off_parked));
            if (deaf) crt_abort(join);
        }
        WAIT_FOR(SHARED(off_inside));
        CHECK_EQ(crt_handle_spawn(h, takes_over_run, &(frame){.i = 0}), 0);
        WAIT_FOR(SHARED(off_taken));
        char *text = test_dump(rt, &n);
        CHECK(n == 1 + in_scope && strstr(text, "running") != NULL);
        free(text);
        SET(off_go, 1);
        CHECK_EQ(crt_join_blocking(&join, &result), deaf && !in_scope ? CRT_ECANCELED : 0);
        if (!deaf || in_scope) CHECK_EQ(result, in_scope ? 5 : 7);
        crt_handle_drop(&h);
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_SEC(5)), 0);
        CHECK(SHARED(off_polls) >= 2 + deaf);   // its own too, which had no worker at the end
        crt_runtime_drop(&rt);
    }
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST_ON_EACH(a_job_gives_any_result);
    TEST_ON_EACH(threads_start_on_demand_and_are_used_again);
    TEST_ON_EACH(jobs_that_block_get_a_thread_each);
    TEST(block_in_place_may_wait_for_a_job_of_the_same_poll);
    TEST_ON_EACH(who_spins_for_jobs_sleeps_in_the_end);
    TEST(the_cap_holds_and_the_rest_queues);
    TEST(queued_jobs_begin_in_order);
    TEST(idle_threads_end_after_the_keep_alive);
    TEST(a_job_that_meets_a_thread_about_to_end_is_not_lost);
    TEST_ON_EACH_WITH(abort_stops_a_job_only_before_it_begins, .max_blocking_threads = 1);
    TEST_ON_EACH(a_join_that_was_given_up_can_be_made_later);
    TEST_ON_EACH(a_job_may_spawn_join_and_block_on);
    TEST_ON_EACH(many_threads_hand_over_jobs_at_once);
    TEST(block_in_place_hands_the_worker_over);
    TEST(block_in_place_takes_the_worker_back_if_nobody_came);
    TEST(block_in_place_does_not_eat_up_the_pool);
    TEST(block_in_place_nests_and_allows_block_on);
    TEST(block_in_place_is_refused_where_it_cannot_work);
    TEST(many_tasks_block_in_place);
    TEST_ON_EACH(shutdown_waits_for_what_runs_and_drops_what_queues);
    TEST(shutdown_leaves_a_stuck_job_behind_at_its_deadline);
    TEST(an_idle_pool_thread_is_nothing_left_behind);
    TEST(block_in_place_may_outlive_a_shutdown_with_deadline);
    TEST(shutdown_forever_waits_for_block_in_place);
    TEST(the_end_of_a_task_without_its_worker);
    TEST(without_any_thread_spawn_blocking_says_so);
    TEST(with_one_thread_left_jobs_wait_for_it);
    TEST(a_job_that_relied_on_a_failed_start_is_not_forgotten);
    TEST(block_in_place_works_without_another_thread);
    TEST(a_runtime_whose_workers_cannot_start_is_undone);
    return test_end();
}
