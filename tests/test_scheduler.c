// Both schedulers: the order tasks run in, the LIFO slot and its bounds, the ring and
// the injection queue by themselves, stealing, parking, the drivers' turn, and that a
// seeded run repeats itself exactly.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

#define SHARED(x) __atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define SET(x, v) __atomic_store_n(&(x), (v), __ATOMIC_SEQ_CST)
#define ADD(x, v) __atomic_fetch_add(&(x), (v), __ATOMIC_SEQ_CST)

static void pause_ms(int ms) { (void)test_pause_us(ms * 1000L); }

static crt_runtime *runtime(const crt_config *c)
{
    crt_runtime *rt = NULL;
    CHECK_EQ(crt_runtime_new(c, &rt), 0);
    return rt;
}
static crt_runtime *current_thread(void) { return runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD}); }
static crt_runtime *workers(int n) { return runtime(&(crt_config){.worker_threads = n}); }
// Marks the task that polls as woken: it goes to the back of the queue.
static crt_poll again(crt_cx *cx)
{
    crt_waker w = crt_waker_clone(cx);
    crt_wake(&w);
    return CRT_PENDING;
}

static int trace[8192], traced;   // by one thread at a time
static void note(int n)
{
    int i = ADD(traced, 1);
    if (i < 8192) trace[i] = n;
}

typedef struct numbered {
    int number, polls, most;
} numbered;
// Notes its number at each poll, `most` times.
static crt_poll noting(void *frame, crt_cx *cx)
{
    numbered *self = frame;
    note(self->number);
    return ++self->polls >= self->most ? 0 : again(cx);
}
typedef struct root {
    crt_frame co;
    int i, n;
    crt_join_handle *join[64];
    crt_poll r;
    crt_runtime *rt;
    crt_notify *notify;
    crt_instant at;
} root;
static crt_poll join_all(root *self, crt_cx *cx)
{
    for (; self->i < self->n; self->i++) {
        crt_poll r = crt_join(cx, &self->join[self->i], NULL);
        if (r == CRT_PENDING || r == CRT_UNWIND) return r;
        CHECK_EQ(r, 0);
    }
    return 0;
}

// ---------------------------------------------------------------------------
// current thread
// ---------------------------------------------------------------------------

static crt_poll fifo_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    for (self->n = 0; self->n < 8; self->n++)
        crt_spawn_join(cx, &self->join[self->n], noting, &(numbered){.number = self->n, .most = 5});
    CRT_AWAIT(join_all(self, cx));
    CRT_END;
}
static void current_thread_runs_in_fifo_order(void)
{
    crt_runtime *rt = current_thread();
    root r = {.i = 0};
    traced = 0;
    CHECK_EQ(crt_block_on(rt, fifo_run, &r), 0);
    CHECK_EQ(traced, 40);
    for (int i = 0; i < traced; i++) CHECK_EQ(trace[i], i % 8);
    crt_runtime_drop(&rt);
}

typedef struct waiter {
    crt_frame co;
    crt_notify *n;
    int number;
} waiter;
static crt_poll waiter_run(void *frame, crt_cx *cx)
{
    waiter *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_notified(cx, self->n));
    note(self->number);
    CRT_END;
}
static crt_poll woken_last_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    crt_spawn_join(cx, &self->join[0], waiter_run, &(waiter){.n = self->notify, .number = 9});
    CRT_YIELD();   // it waits
    for (self->n = 1; self->n < 4; self->n++)
        crt_spawn_join(cx, &self->join[self->n], noting, &(numbered){.number = self->n, .most = 1});
    crt_notify_one(self->notify);
    CRT_AWAIT(join_all(self, cx));
    CRT_END;
}
static void check_woken(const crt_config *c, const int want[4])
{
    crt_runtime *rt = runtime(c);
    crt_notify n = {.q = {0}};
    root r = {.notify = &n};
    traced = 0;
    CHECK_EQ(crt_block_on(rt, woken_last_run, &r), 0);
    CHECK_EQ(traced, 4);
    for (int i = 0; i < 4; i++) CHECK_EQ(trace[i], want[i]);
    crt_runtime_drop(&rt);
}
static void a_woken_task_goes_to_the_lifo_slot_where_there_is_one(void)
{
    check_woken(&(crt_config){.flavor = CRT_CURRENT_THREAD}, (int[4]){1, 2, 3, 9});
    check_woken(&(crt_config){.worker_threads = 1}, (int[4]){9, 1, 2, 3});
    check_woken(&(crt_config){.worker_threads = 1, .disable_lifo_slot = true}, (int[4]){1, 2, 3, 9});
}

// 200 local tasks are ready when three come from another thread.
static void *inject_three(void *arg)
{
    crt_handle *h = crt_runtime_handle(arg);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(crt_handle_spawn(h, noting, &(numbered){.number = 1000 + i, .most = 1}), 0);
    crt_handle_drop(&h);
    return NULL;
}
static crt_poll inject_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    for (int i = 0; i < 200; i++) crt_spawn(cx, noting, &(numbered){.number = i, .most = 1});
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, inject_three, cx->rt), 0);
    pthread_join(thread, NULL);
    CRT_AWAIT(SHARED(traced) < 203 ? again(cx) : 0);
    CRT_END;
}
static void check_inject(const crt_config *c, int interval)
{
    crt_runtime *rt = runtime(c);
    root r = {.i = 0};
    int at[3], n = 0, local = 0;
    traced = 0;
    CHECK_EQ(crt_block_on(rt, inject_run, &r), 0);
    for (int i = 0; i < 203; i++) {
        if (trace[i] < 1000) CHECK_EQ(trace[i], local++);
        else if (n < 3) {
            CHECK_EQ(trace[i], 1000 + n);
            at[n++] = i;
        }
    }
    CHECK_EQ(n, 3);
    CHECK(at[0] < interval);
    CHECK_EQ(at[1] - at[0], interval);
    CHECK_EQ(at[2] - at[1], interval);
    crt_runtime_drop(&rt);
}
static void the_injection_queue_has_every_31st_turn(void)
{
    check_inject(&(crt_config){.flavor = CRT_CURRENT_THREAD}, 31);
    check_inject(&(crt_config){.flavor = CRT_CURRENT_THREAD, .global_queue_interval = 7}, 7);
    check_inject(&(crt_config){.flavor = CRT_CURRENT_THREAD, .disable_lifo_slot = true}, 31);
}

// A task that never stops being ready, and a pipe that becomes readable meanwhile:
// after how many polls is it seen?
typedef struct busy {
    crt_frame co;
    int pipe[2], when, polls, seen_after;
    bool timer;
    int done;
    crt_join_handle *join;
    crt_instant at;
    crt_poll r;
} busy;
static busy *the_busy;
static crt_poll pipe_reader_run(void *frame, crt_cx *cx)
{
    waiter *self = frame;
    char c;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_fd_readable(cx, the_busy->pipe[0]));
    CHECK_EQ(read(the_busy->pipe[0], &c, 1), 1);
    the_busy->done = 1;
    CRT_END;
}
static crt_poll spin(busy *self, crt_cx *cx)
{
    if (self->done) {
        self->seen_after = self->polls - self->when;
        return 0;
    }
    if (++self->polls == self->when) CHECK_EQ(write(self->pipe[1], "", 1), 1);
    if (self->polls > 5000) return 0;
    return again(cx);
}
static crt_poll busy_run(void *frame, crt_cx *cx)
{
    busy *self = frame;
    CRT_BEGIN(self, cx);
    crt_spawn_join(cx, &self->join, pipe_reader_run, &(waiter){.number = 0});
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));   // it waits
    CRT_AWAIT(spin(self, cx));
    CRT_AWAIT(crt_join(cx, &self->join, NULL));
    CRT_END;
}
static void check_drivers(const crt_config *c, int interval)
{
    int longest = 0;
    for (int phase = 0; phase < 12; phase++) {
        crt_runtime *rt = runtime(c);
        busy b = {.when = 200 + phase * 11};
        CHECK_EQ(pipe(b.pipe), 0);
        the_busy = &b;
        CHECK_EQ(crt_block_on(rt, busy_run, &b), 0);
        CHECK(b.done);
        CHECK(b.seen_after <= interval + 1);
        if (b.seen_after > longest) longest = b.seen_after;
        crt_runtime_drop(&rt);
        close(b.pipe[0]);
        close(b.pipe[1]);
    }
    CHECK(longest >= interval / 2);   // and no more often than that
}
static void the_drivers_have_a_look_every_61_tasks(void)
{
    check_drivers(&(crt_config){.flavor = CRT_CURRENT_THREAD}, 61);
    check_drivers(&(crt_config){.flavor = CRT_CURRENT_THREAD, .event_interval = 20}, 20);
    check_drivers(&(crt_config){.worker_threads = 1}, 61);
    check_drivers(&(crt_config){.worker_threads = 1, .event_interval = 20}, 20);
}

// A yield goes behind what the drivers have.
static crt_poll yielding_run(void *frame, crt_cx *cx)
{
    busy *self = frame;
    CRT_BEGIN(self, cx);
    for (self->when = 0; self->when < 10; self->when++) {
        self->done = 0;
        crt_spawn_join(cx, &self->join, pipe_reader_run, &(waiter){.number = 0});
        CRT_YIELD();
        CHECK_EQ(self->done, 0);
        CHECK_EQ(write(self->pipe[1], "", 1), 1);
        CRT_YIELD();
        CHECK_EQ(self->done, 1);
        CRT_AWAIT(crt_join(cx, &self->join, NULL));
    }
    CRT_END;
}
static void a_yielding_task_runs_after_the_drivers_were_polled(void)
{
    for (int flavor = 0; flavor < 2; flavor++) {
        crt_runtime *rt = flavor ? current_thread() : workers(1);
        busy b = {.when = 0};
        CHECK_EQ(pipe(b.pipe), 0);
        the_busy = &b;
        CHECK_EQ(crt_block_on(rt, yielding_run, &b), 0);
        crt_runtime_drop(&rt);
        close(b.pipe[0]);
        close(b.pipe[1]);
    }
}
static crt_poll greedy_run(void *frame, crt_cx *cx)
{
    busy *self = frame;
    CRT_BEGIN(self, cx);
    crt_spawn_join(cx, &self->join, pipe_reader_run, &(waiter){.number = 0});
    CRT_YIELD();
    CRT_YIELD();
    CHECK_EQ(write(self->pipe[1], "", 1), 1);
    CHECK_EQ(crt_coop_budget(cx), 128);
    for (self->polls = 0; self->polls < 1000; self->polls++) {
        CRT_AWAIT(crt_consume_budget(cx));
        // A full budget without a break, then the drivers and the others.
        CHECK_EQ(self->done, self->polls >= 128);
    }
    CRT_AWAIT(crt_join(cx, &self->join, NULL));
    CRT_END;
}
static void a_task_out_of_budget_runs_after_the_drivers_were_polled(void)
{
    for (int flavor = 0; flavor < 2; flavor++) {
        crt_runtime *rt = flavor ? current_thread() : workers(1);
        crt_runtime_metrics m;
        busy b = {.when = 0};
        CHECK_EQ(pipe(b.pipe), 0);
        the_busy = &b;
        CHECK_EQ(crt_block_on(rt, greedy_run, &b), 0);
        CHECK_EQ(crt_metrics(rt, &m), 0);
        CHECK_EQ(m.budget_forced_yield_count, 1000 / 128);
        crt_runtime_drop(&rt);
        close(b.pipe[0]);
        close(b.pipe[1]);
    }
}

// ---------------------------------------------------------------------------
// LIFO slot
// ---------------------------------------------------------------------------

static crt_poll spawn_order_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    for (self->n = 0; self->n < 5; self->n++)
        crt_spawn_join(cx, &self->join[self->n], noting, &(numbered){.number = self->n, .most = 1});
    CRT_AWAIT(join_all(self, cx));
    CRT_END;
}
static void the_task_spawned_last_runs_first_unless_disabled(void)
{
    static const int with[] = {4, 0, 1, 2, 3}, without[] = {0, 1, 2, 3, 4};
    for (int off = 0; off < 2; off++) {
        crt_runtime *rt = runtime(&(crt_config){.worker_threads = 1, .disable_lifo_slot = off});
        root r = {.i = 0};
        traced = 0;
        CHECK_EQ(crt_block_on(rt, spawn_order_run, &r), 0);
        for (int i = 0; i < 5; i++) CHECK_EQ(trace[i], off ? without[i] : with[i]);
        crt_runtime_drop(&rt);
    }
}

// Two tasks that wake each other for ever, and a third that is only ever ready.
typedef struct ping {
    crt_frame co;
    crt_notify *mine, *other;
    int number;
} ping;
static int stop_all, counted[3];   // atomic
static crt_poll ping_run(void *frame, crt_cx *cx)
{
    ping *self = frame;
    CRT_BEGIN(self, cx);
    while (!SHARED(stop_all)) {
        CRT_AWAIT(crt_notified(cx, self->mine));
        ADD(counted[self->number], 1);
        note(self->number);
        crt_notify_one(self->other);
    }
    crt_notify_one(self->other);
    CRT_END;
}
static crt_poll third(void *frame, crt_cx *cx)
{
    numbered *self = frame;
    note(2);
    ADD(counted[2], 1);
    if (++self->polls < 300) return again(cx);
    SET(stop_all, 1);
    return 0;
}
static crt_poll pingers_run(void *frame, crt_cx *cx)
{
    static crt_notify a, b;
    root *self = frame;
    CRT_BEGIN(self, cx);
    a = b = (crt_notify){.q = {0}};
    self->n = 3;
    crt_spawn_join(cx, &self->join[0], ping_run, &(ping){.mine = &a, .other = &b, .number = 0});
    crt_spawn_join(cx, &self->join[1], ping_run, &(ping){.mine = &b, .other = &a, .number = 1});
    crt_spawn_join(cx, &self->join[2], third, &(numbered){.number = 2});
    crt_notify_one(&a);
    CRT_AWAIT(join_all(self, cx));
    CRT_END;
}
static void two_tasks_in_the_lifo_slot_do_not_starve_a_third(void)
{
    crt_runtime *rt = workers(1);
    root r = {.i = 0};
    traced = stop_all = 0;
    memset(counted, 0, sizeof counted);
    CHECK_EQ(crt_block_on(rt, pingers_run, &r), 0);
    int gap = 0, longest = 0;
    for (int i = 0; i < traced && i < 8192; i++) {
        gap = trace[i] == 2 ? 0 : gap + 1;
        if (gap > longest) longest = gap;
    }
    CHECK(longest <= 8);   // three in a row, twice at most, and the queue
    CHECK(counted[0] > 100 && counted[1] > 100);   // the slot was in use all the while
    crt_runtime_drop(&rt);
}

// One poll lasts 200 ms; the task that it woke sits in its worker's LIFO slot.
static int rescued, hog_ended, stop_busy;   // atomic
static crt_poll rescue_me(void *frame, crt_cx *cx)
{
    (void)frame;
    (void)cx;
    if (!SHARED(hog_ended)) ADD(rescued, 1);
    return 0;
}
static crt_poll busy_yielder_run(void *frame, crt_cx *cx)
{
    waiter *self = frame;
    CRT_BEGIN(self, cx);
    while (!SHARED(stop_busy)) {
        self->number++;
        CRT_YIELD();
    }
    CRT_END;
}
static crt_poll hog_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    SET(hog_ended, 0);
    crt_spawn_join(cx, &self->join[0], rescue_me, &(numbered){.number = 0});
    {
        int before = SHARED(rescued);   // at once, or as soon as the machine has a processor for the other worker
        for (int ms = 0; ms < 5000 && SHARED(rescued) == before; ms += 5) pause_ms(5);
    }
    SET(hog_ended, 1);
    CRT_AWAIT(crt_join(cx, &self->join[0], NULL));
    CRT_END;
}
static crt_poll hogs_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 3; self->i++) {
        CRT_AWAIT(crt_sleep(cx, CRT_MS(25)));
        crt_spawn_join(cx, &self->join[0], hog_run, &(root){.i = 0});
        CRT_AWAIT(crt_join(cx, &self->join[0], NULL));
    }
    CRT_END;
}
static void a_task_stuck_in_the_lifo_slot_is_taken_over_by_a_sleeper(void)
{
    for (int n = 2; n <= 4; n += 2) {
        crt_runtime *rt = workers(n);
        root r = {.i = 0};
        rescued = 0;
        CHECK_EQ(crt_block_on(rt, hogs_run, &r), 0);
        CHECK_EQ(rescued, 3);
        crt_runtime_drop(&rt);
    }
}
// The same, begun from outside on a runtime that has been asleep for long.
static void a_stuck_task_is_taken_over_in_a_runtime_that_slept(void)
{
    crt_runtime *rt = workers(2);
    crt_handle *h = crt_runtime_handle(rt);
    crt_join_handle *join;
    rescued = 0;
    for (int i = 0; i < 3; i++) {
        pause_ms(30);
        CHECK_EQ(crt_handle_spawn_join(h, &join, hog_run, &(root){.i = 0}), 0);
        CHECK_EQ(crt_join_blocking(&join, NULL), 0);
    }
    CHECK_EQ(rescued, 3);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}
// The other worker has work of its own all the time, but is never stuck.
static crt_poll hog_beside_work_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    SET(stop_busy, 0);
    crt_spawn_join(cx, &self->join[1], busy_yielder_run, &(waiter){.number = 0});
    crt_spawn_join(cx, &self->join[2], busy_yielder_run, &(waiter){.number = 0});
    for (self->i = 0; self->i < 3; self->i++) {
        CRT_AWAIT(crt_sleep(cx, CRT_MS(10)));
        crt_spawn_join(cx, &self->join[0], hog_run, &(root){.i = 0});
        CRT_AWAIT(crt_join(cx, &self->join[0], NULL));
    }
    SET(stop_busy, 1);
    CRT_AWAIT(crt_join(cx, &self->join[1], NULL));
    CRT_AWAIT(crt_join(cx, &self->join[2], NULL));
    CRT_END;
}
static void a_stuck_task_is_taken_over_by_a_worker_that_is_busy(void)
{
    crt_runtime *rt = workers(2);
    root r = {.i = 0};
    rescued = 0;
    CHECK_EQ(crt_block_on(rt, hog_beside_work_run, &r), 0);
    CHECK_EQ(rescued, 3);
    crt_runtime_drop(&rt);
}

// ---------------------------------------------------------------------------
// ring and injection queue by themselves
// ---------------------------------------------------------------------------

enum { DUMMIES = 2048 };
static crt_task dummy[DUMMIES];
static uint32_t popped[DUMMIES];   // atomic
static crt__ring ring_a, ring_b;
static crt__inject inject;

static int number_of(const crt_task *t) { return t ? (int)(t - dummy) : -1; }
static void ring_at(crt__ring *r, uint32_t index)
{
    memset(r, 0, sizeof *r);
    r->head = crt__pack(index, index);
    r->tail = index;
}
static const uint32_t starts[] = {0, 1, 255, 256, 0x7fffff80u, 0xffffff00u, 0xffffff80u, 0xffffffffu};
enum { STARTS = sizeof starts / sizeof *starts };

static void the_ring_is_fifo_at_any_index(void)
{
    for (int s = 0; s < STARTS; s++) {
        ring_at(&ring_a, starts[s]);
        crt__inject_init(&inject);
        CHECK(crt__ring_pop(&ring_a) == NULL);
        int in = 0, out = 0;
        for (int round = 0; round < 20; round++) {   // far enough to wrap
            for (int i = 0; i < 100 + round * 8 && in - out < CRT__RING; i++) {
                CHECK(crt__ring_push(&ring_a, &inject, &dummy[in % DUMMIES]));
                in++;
            }
            CHECK_EQ(crt__ring_length(&ring_a), in - out);
            for (int i = 0; i < 90 + round * 8 && out < in; i++) {
                CHECK_EQ(number_of(crt__ring_pop(&ring_a)), out % DUMMIES);
                out++;
            }
        }
        while (out < in) {
            CHECK_EQ(number_of(crt__ring_pop(&ring_a)), out % DUMMIES);
            out++;
        }
        CHECK(crt__ring_pop(&ring_a) == NULL);
        CHECK_EQ(crt__ring_length(&ring_a), 0);
        CHECK_EQ(crt__inject_length(&inject), 0);
    }
}
static void a_full_ring_sends_half_and_the_new_one_to_the_injection_queue(void)
{
    for (int s = 0; s < STARTS; s++) {
        ring_at(&ring_a, starts[s]);
        crt__inject_init(&inject);
        for (int i = 0; i < CRT__RING; i++) CHECK(crt__ring_push(&ring_a, &inject, &dummy[i]));
        CHECK_EQ(crt__ring_length(&ring_a), CRT__RING);
        CHECK(!crt__ring_push(&ring_a, &inject, &dummy[CRT__RING]));
        CHECK_EQ(crt__ring_length(&ring_a), CRT__RING / 2);
        CHECK_EQ(crt__inject_length(&inject), CRT__RING / 2 + 1);
        // Who has waited longest stays; both halves keep their order.
        for (int i = 0; i < CRT__RING / 2; i++) CHECK_EQ(number_of(crt__ring_pop(&ring_a)), i);
        for (int i = CRT__RING / 2; i <= CRT__RING; i++) CHECK_EQ(number_of(crt__inject_pop(&inject)), i);
        CHECK(crt__ring_pop(&ring_a) == NULL);
        CHECK(crt__inject_pop(&inject) == NULL);
    }
}
static void a_thief_takes_half_rounded_up_and_the_last_to_run(void)
{
    for (int s = 0; s < STARTS; s++)
        for (int n = 0; n <= CRT__RING; n++) {
            uint32_t got = 0;
            ring_at(&ring_a, starts[s]);
            ring_at(&ring_b, starts[STARTS - 1 - s]);
            crt__inject_init(&inject);
            for (int i = 0; i < n; i++) crt__ring_push(&ring_a, &inject, &dummy[i]);
            crt_task *t = crt__ring_steal(&ring_a, &ring_b, &got);
            int half = (n + 1) / 2;
            CHECK_EQ(number_of(t), half - 1);
            CHECK_EQ(got, half);
            CHECK_EQ(crt__ring_length(&ring_a), n - half);
            CHECK_EQ(crt__ring_length(&ring_b), half ? half - 1 : 0);
            for (int i = 0; i < half - 1; i++) CHECK_EQ(number_of(crt__ring_pop(&ring_b)), i);
            for (int i = half; i < n; i++) CHECK_EQ(number_of(crt__ring_pop(&ring_a)), i);
            CHECK(crt__ring_pop(&ring_a) == NULL);
        }
}
static void a_thief_with_a_full_ring_or_beside_another_thief_takes_nothing(void)
{
    uint32_t got = 0;
    ring_at(&ring_a, 7);
    ring_at(&ring_b, 0xfffffff0u);
    crt__inject_init(&inject);
    for (int i = 0; i < 200; i++) crt__ring_push(&ring_a, &inject, &dummy[i]);
    for (int i = 0; i < CRT__RING / 2 + 1; i++) crt__ring_push(&ring_b, &inject, &dummy[1000 + i]);
    CHECK(crt__ring_steal(&ring_a, &ring_b, &got) == NULL);   // more than half full
    CHECK_EQ(crt__ring_length(&ring_a), 200);
    CHECK_EQ(number_of(crt__ring_pop(&ring_b)), 1000);        // half full: room for half
    CHECK_EQ(number_of(crt__ring_steal(&ring_a, &ring_b, &got)), 99);
    CHECK_EQ(got, 100);
    CHECK_EQ(crt__ring_length(&ring_b), CRT__RING / 2 + 99);

    // In the middle of a theft of 10: [steal, real) is not to be touched.
    ring_at(&ring_a, 0xfffffffbu);
    for (int i = 0; i < CRT__RING; i++) crt__ring_push(&ring_a, &inject, &dummy[i]);
    ring_a.head = crt__pack(0xfffffffbu, 0xfffffffbu + 10);
    ring_at(&ring_b, 0);
    CHECK(crt__ring_steal(&ring_a, &ring_b, &got) == NULL);
    CHECK(!crt__ring_push(&ring_a, &inject, &dummy[300]));    // no room yet: does not wait
    CHECK_EQ(number_of(crt__inject_pop(&inject)), 300);
    CHECK_EQ(number_of(crt__ring_pop(&ring_a)), 10);          // the owner goes on popping
    CHECK_EQ(ring_a.head >> 32, 0xfffffffbu);
    CHECK(!crt__ring_push(&ring_a, &inject, &dummy[301]));
    ring_a.head = crt__pack((uint32_t)ring_a.head, (uint32_t)ring_a.head);   // the thief is done
    CHECK(crt__ring_push(&ring_a, &inject, &dummy[302]));
    for (int i = 11; i < CRT__RING; i++) CHECK_EQ(number_of(crt__ring_pop(&ring_a)), i);
    CHECK_EQ(number_of(crt__ring_pop(&ring_a)), 302);
}

// One owner, two thieves, indices that wrap: every push comes out once.
static int owner_done;   // atomic
static void took(crt_task *t) { ADD(popped[number_of(t)], 1); }
static void *thief_main(void *arg)
{
    crt__ring *mine = arg;
    uint32_t got;
    for (;;) {
        int last = SHARED(owner_done);
        crt_task *t = crt__ring_steal(&ring_a, mine, &got);
        if (t) took(t);
        while ((t = crt__ring_pop(mine))) took(t);
        if (last && !crt__ring_length(&ring_a)) return NULL;
    }
}
static void every_task_comes_out_of_the_ring_once(void)
{
    enum { ROUNDS = 60 };
    static crt__ring mine[2];
    pthread_t thread[2];
    uint64_t rng = 99;
    memset(popped, 0, sizeof popped);
    ring_at(&ring_a, 0xffffffffu - DUMMIES * ROUNDS / 2);
    crt__inject_init(&inject);
    SET(owner_done, 0);
    for (int i = 0; i < 2; i++) {
        ring_at(&mine[i], 0xfffffff0u);
        pthread_create(&thread[i], NULL, thief_main, &mine[i]);
    }
    crt_task *t;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < DUMMIES; i++) {
            // A task is in one queue at a time: wait until it is out.
            while (SHARED(popped[i]) < (uint32_t)round) {
                if ((t = crt__ring_pop(&ring_a)) || (t = crt__inject_pop(&inject))) took(t);
                else sched_yield();
            }
            crt__ring_push(&ring_a, &inject, &dummy[i]);
            if (crt__random_below(&rng, 3) == 0 && (t = crt__ring_pop(&ring_a))) took(t);
        }
    }
    while ((t = crt__ring_pop(&ring_a)) || (t = crt__inject_pop(&inject))) took(t);
    SET(owner_done, 1);
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    while ((t = crt__ring_pop(&ring_a))) took(t);
    for (int i = 0; i < DUMMIES; i++) CHECK_EQ(popped[i], ROUNDS);
}

static void the_injection_queue_is_fifo(void)
{
    crt__inject_init(&inject);
    CHECK(crt__inject_pop(&inject) == NULL);
    int in = 0, out = 0;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < round % 7; i++, in++) crt__inject_push(&inject, &dummy[in % DUMMIES], &dummy[in % DUMMIES], 1);
        if (round % 3 == 0) {   // a chain of five at once
            for (int i = 0; i < 4; i++) dummy[(in + i) % DUMMIES].next = &dummy[(in + i + 1) % DUMMIES];
            crt__inject_push(&inject, &dummy[in % DUMMIES], &dummy[(in + 4) % DUMMIES], 5);
            in += 5;
        }
        CHECK_EQ(crt__inject_length(&inject), in - out);
        for (int i = 0; i < round % 6 && out < in; i++, out++)
            CHECK_EQ(number_of(crt__inject_pop(&inject)), out % DUMMIES);
    }
    for (; out < in; out++) CHECK_EQ(number_of(crt__inject_pop(&inject)), out % DUMMIES);
    CHECK(crt__inject_pop(&inject) == NULL);
    CHECK_EQ(crt__inject_length(&inject), 0);
}
enum { PRODUCERS = 4, EACH = DUMMIES / PRODUCERS, TURNS = 20 };
static int producer_turn[PRODUCERS];   // atomic: dummies out of the queue, of this turn
static void *producer_main(void *arg)
{
    int me = (int)(intptr_t)arg;
    for (int turn = 0; turn < TURNS; turn++) {
        while (SHARED(producer_turn[me]) < turn * EACH) sched_yield();
        for (int i = 0; i < EACH; i++) {
            crt_task *t = &dummy[me * EACH + i];
            crt__inject_push(&inject, t, t, 1);
        }
    }
    return NULL;
}
static void the_injection_queue_keeps_the_order_of_each_producer(void)
{
    pthread_t thread[PRODUCERS];
    crt__inject_init(&inject);
    memset(producer_turn, 0, sizeof producer_turn);
    for (int i = 0; i < PRODUCERS; i++) pthread_create(&thread[i], NULL, producer_main, (void *)(intptr_t)i);
    for (int n = 0; n < DUMMIES * TURNS;) {
        crt_task *t = crt__inject_pop(&inject);
        if (!t) {
            sched_yield();
            continue;
        }
        int i = number_of(t), p = i / EACH;
        if (i % EACH != SHARED(producer_turn[p]) % EACH) CHECK(!"out of order");
        ADD(producer_turn[p], 1);
        n++;
    }
    for (int i = 0; i < PRODUCERS; i++) pthread_join(thread[i], NULL);
    CHECK_EQ(crt__inject_length(&inject), 0);
}

// ---------------------------------------------------------------------------
// many tasks, many workers
// ---------------------------------------------------------------------------

static int ran;   // atomic
static uint32_t ran_once[6000];   // atomic
static crt_poll once(void *frame, crt_cx *cx)
{
    numbered *self = frame;
    (void)cx;
    ADD(ran_once[self->number], 1);
    ADD(ran, 1);
    return 0;
}
static crt_poll flood_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    for (int i = 0; i < 6000; i++) CHECK_EQ(crt_spawn(cx, once, &(numbered){.number = i}), 0);
    while (SHARED(ran) < 6000) CRT_YIELD();
    CRT_END;
}
static void an_overflowing_queue_loses_no_task(crt_runtime *rt)
{
    crt_runtime_metrics m;
    root r = {.i = 0};
    ran = 0;
    memset(ran_once, 0, sizeof ran_once);
    CHECK_EQ(crt_block_on(rt, flood_run, &r), 0);
    CHECK_EQ(ran, 6000);
    for (int i = 0; i < 6000; i++) CHECK_EQ(ran_once[i], 1);
    CHECK_EQ(crt_metrics(rt, &m), 0);
    // One worker has nobody to steal from it: 6000 tasks cannot fit its ring. With four,
    // thieves may keep up with the spawner.
    const crt_config *c = crt_runtime_config(rt);
    if (c->flavor == CRT_MULTI_THREAD && c->worker_threads == 1) CHECK(m.worker_overflow_count > 0);
    CHECK_EQ(m.global_queue_depth, 0);
    CHECK_EQ(m.spawned_tasks_count, 6001);
}

static uint32_t worker_ran[4];   // atomic
static crt_poll slowly(void *frame, crt_cx *cx)
{
    (void)frame;
    ADD(worker_ran[cx->worker->index], 1);
    test_pause_us(500);
    ADD(ran, 1);
    return 0;
}
static crt_poll uneven_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    for (int i = 0; i < 200; i++) CHECK_EQ(crt_spawn(cx, slowly, &(numbered){.number = i}), 0);
    while (SHARED(ran) < 200) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CRT_END;
}
static void idle_workers_steal_from_a_full_one(void)
{
    crt_runtime *rt = workers(4);
    crt_runtime_metrics m;
    root r = {.i = 0};
    int shared = 0;
    ran = 0;
    memset(worker_ran, 0, sizeof worker_ran);
    CHECK_EQ(crt_block_on(rt, uneven_run, &r), 0);
    CHECK_EQ(crt_metrics(rt, &m), 0);
    CHECK(m.worker_steal_operations > 0);
    CHECK(m.worker_steal_count >= m.worker_steal_operations);
    for (int i = 0; i < 4; i++) shared += worker_ran[i] >= 10;
    CHECK(shared >= 3);   // all four as a rule
    crt_runtime_drop(&rt);
}

// Eight timers are due at once and each leads to a poll that does not return before four of them are inside. The
// worker that was in the driver wakes one other; that one, when it has found work, wakes the next.
static int inside;   // atomic
static crt_poll wave_run(void *frame, crt_cx *cx)
{
    busy *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep_until(cx, self->at));
    ADD(inside, 1);
    while (SHARED(inside) < 4) pause_ms(1);
    CRT_END;
}
static crt_poll waves_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    self->at = crt_now(cx) + CRT_MS(30);
    self->n = 8;
    SET(inside, 0);
    for (int i = 0; i < 8; i++) crt_spawn_join(cx, &self->join[i], wave_run, &(busy){.at = self->at});
    CRT_AWAIT(join_all(self, cx));
    CRT_END;
}
static void one_worker_wakes_the_next(void)
{
    crt_runtime *rt = workers(4);
    for (int i = 0; i < 3; i++) {
        root r = {.i = 0};
        CHECK_EQ(crt_block_on(rt, waves_run, &r), 0);
    }
    crt_runtime_drop(&rt);
}

// A wake-up that got lost would hang here.
static void *spawner_main(void *arg)
{
    crt_handle *h = arg;
    crt_join_handle *join;
    for (int i = 0; i < 1500; i++) {
        CHECK_EQ(crt_handle_spawn_join(h, &join, once, &(numbered){.number = 0}), 0);
        if (i % 100 == 0) pause_ms(1);   // let everybody fall asleep
        CHECK_EQ(crt_join_blocking(&join, NULL), 0);
    }
    return NULL;
}
static crt_poll wait_run(void *frame, crt_cx *cx)
{
    waiter *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_notified(cx, self->n));
    CRT_END;
}
static void *drive_main(void *arg)
{
    root *r = arg;
    waiter w = {.n = r->notify};
    CHECK_EQ(crt_block_on(r->rt, wait_run, &w), 0);
    return NULL;
}
static void no_spawn_from_outside_is_slept_through(crt_runtime *rt)
{
    crt_notify n = {.q = {0}};
    root r = {.rt = rt, .notify = &n};
    crt_handle *h = crt_runtime_handle(rt);
    pthread_t driver, spawner[2];
    pthread_create(&driver, NULL, drive_main, &r);
    for (int i = 0; i < 2; i++) pthread_create(&spawner[i], NULL, spawner_main, h);
    for (int i = 0; i < 2; i++) pthread_join(spawner[i], NULL);
    crt_notify_one(&n);
    pthread_join(driver, NULL);
    crt_handle_drop(&h);
}

// ---------------------------------------------------------------------------
// drivers
// ---------------------------------------------------------------------------

// A poll of 150 ms that made a pipe readable; the reader must not wait for it.
static int read_in_time;   // atomic
static int hog_pipe[2];
static crt_poll in_time_run(void *frame, crt_cx *cx)
{
    waiter *self = frame;
    char c;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_fd_readable(cx, hog_pipe[0]));
    if (!SHARED(hog_ended)) ADD(read_in_time, 1);
    CHECK_EQ(read(hog_pipe[0], &c, 1), 1);
    CRT_END;
}
static crt_poll io_hog_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 4; self->i++) {
        SET(hog_ended, 0);
        crt_spawn_join(cx, &self->join[0], in_time_run, &(waiter){.number = 0});
        // Come back by way of the driver, so that it was ours a moment ago.
        CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
        CHECK_EQ(write(hog_pipe[1], "", 1), 1);
        pause_ms(150);
        SET(hog_ended, 1);
        CRT_AWAIT(crt_join(cx, &self->join[0], NULL));
    }
    CRT_END;
}
static void a_long_poll_does_not_stall_io_while_a_worker_is_idle(void)
{
    for (int n = 2; n <= 4; n += 2) {
        crt_runtime *rt = workers(n);
        root r = {.i = 0};
        CHECK_EQ(pipe(hog_pipe), 0);
        read_in_time = 0;
        CHECK_EQ(crt_block_on(rt, io_hog_run, &r), 0);
        CHECK_EQ(read_in_time, 4);
        crt_runtime_drop(&rt);
        close(hog_pipe[0]);
        close(hog_pipe[1]);
    }
}
// Woken by the driver together: one hogs, the other must go to another worker.
static int late_timers;   // atomic
static crt_poll batch_run(void *frame, crt_cx *cx)
{
    numbered *self = frame;
    (void)cx;
    if (self->number == 0) {
        pause_ms(150);
        SET(hog_ended, 1);
    } else if (SHARED(hog_ended)) {
        ADD(late_timers, 1);
    }
    return 0;
}
typedef struct batch {
    crt_frame co;
    numbered n;
    crt_instant at;
    crt_poll r;
} batch;
static crt_poll timed_run(void *frame, crt_cx *cx)
{
    batch *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep_until(cx, self->at));
    CRT_AWAIT(batch_run(&self->n, cx));
    CRT_END;
}
static crt_poll batches_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    SET(hog_ended, 0);
    self->n = 8;
    for (int i = 0; i < 8; i++)
        crt_spawn_join(cx, &self->join[i], timed_run, &(batch){.n = {.number = i}, .at = crt_now(cx) + CRT_MS(30)});
    CRT_AWAIT(join_all(self, cx));
    CRT_END;
}
static void timers_due_together_are_not_stuck_behind_one_of_them(void)
{
    crt_runtime *rt = workers(2);
    late_timers = 0;
    for (int i = 0; i < 3; i++) {
        root r = {.i = 0};
        CHECK_EQ(crt_block_on(rt, batches_run, &r), 0);
    }
    CHECK_EQ(late_timers, 0);
    crt_runtime_drop(&rt);
}

// ---------------------------------------------------------------------------
// bookkeeping
// ---------------------------------------------------------------------------

typedef struct tuning {
    crt_frame co;
    int i;
    uint32_t slow, fast, set;
} tuning;
static crt_poll tuning_run(void *frame, crt_cx *cx)
{
    tuning *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 40; self->i++) {   // long polls: look at the injection queue often
        test_pause_us(1000);
        CRT_YIELD();
    }
    self->slow = cx->worker->inject_interval;
    for (self->i = 0; self->i < 40000; self->i++) CRT_YIELD();
    self->fast = cx->worker->inject_interval;
    CRT_END;
}
static void the_inject_interval_follows_the_poll_times(void)
{
    crt_runtime *rt = workers(1);
    tuning t = {.i = 0};
    CHECK_EQ(crt_block_on(rt, tuning_run, &t), 0);
    CHECK(t.slow >= 2 && t.slow <= 5);
    CHECK(t.fast > 4 * t.slow && t.fast <= 127);
    crt_runtime_drop(&rt);
    rt = runtime(&(crt_config){.worker_threads = 1, .global_queue_interval = 44});   // unless it is set
    t = (tuning){.i = 0};
    CHECK_EQ(crt_block_on(rt, tuning_run, &t), 0);
    CHECK_EQ(t.slow, 44);
    CHECK_EQ(t.fast, 44);
    crt_runtime_drop(&rt);
}

static crt_poll far_sleeper_run(void *frame, crt_cx *cx)
{
    waiter *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(3600)));
    CRT_END;
}
static crt_poll fd_waiter_run(void *frame, crt_cx *cx)
{
    waiter *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_fd_readable(cx, hog_pipe[0]));
    CRT_END;
}
static int64_t cpu_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
static void an_idle_runtime_sleeps(crt_runtime *rt)
{
    crt_notify n = {.q = {0}};
    root r = {.rt = rt, .notify = &n};
    crt_runtime_metrics a, b;
    crt_handle *h = crt_runtime_handle(rt);
    pthread_t driver, spawner;
    CHECK_EQ(pipe(hog_pipe), 0);
    pthread_create(&driver, NULL, drive_main, &r);
    pthread_create(&spawner, NULL, spawner_main, h);   // some traffic first
    pthread_join(spawner, NULL);
    CHECK_EQ(crt_handle_spawn(h, far_sleeper_run, &(waiter){.number = 0}), 0);
    CHECK_EQ(crt_handle_spawn(h, fd_waiter_run, &(waiter){.number = 0}), 0);
    pause_ms(60);   // the last watchful wait may be 10 ms
    crt_metrics(rt, &a);
    int64_t cpu = cpu_time();
    pause_ms(300);
    crt_metrics(rt, &b);
    CHECK_EQ(b.worker_park_count, a.worker_park_count);
    CHECK_EQ(b.worker_noop_count, a.worker_noop_count);
    CHECK_EQ(b.worker_poll_count, a.worker_poll_count);
    CHECK(cpu_time() - cpu < CRT_MS(30));
    crt_notify_one(&n);
    pthread_join(driver, NULL);
    crt_handle_drop(&h);
    CHECK_EQ(crt_runtime_shutdown(rt, CRT_FOREVER), 0);
    close(hog_pipe[0]);
    close(hog_pipe[1]);
}

// Tasks of a local set that are always ready leave room for the others, and the
// other way round.
static crt_poll restless(void *frame, crt_cx *cx)
{
    numbered *self = frame;
    ADD(counted[self->number], 1);
    if (SHARED(stop_all) || ++self->polls > 200000) return 0;
    return again(cx);
}
static crt_poll modest(void *frame, crt_cx *cx)
{
    numbered *self = frame;
    if (++self->polls < 50) return again(cx);
    SET(stop_all, 1);
    return 0;
}
typedef struct mixed {
    crt_frame co;
    crt_local_set set;
    crt_join_handle *join;
    bool local_is_restless;
} mixed;
static crt_poll mixed_run(void *frame, crt_cx *cx)
{
    mixed *self = frame;
    CRT_BEGIN(self, cx);
    if (self->local_is_restless) {
        crt_local_set_spawn(cx, &self->set, restless, &(numbered){.number = 0});
        crt_spawn_join(cx, &self->join, modest, &(numbered){.number = 0});
    } else {
        crt_spawn_join(cx, &self->join, restless, &(numbered){.number = 0});
        crt_local_set_spawn(cx, &self->set, modest, &(numbered){.number = 0});
    }
    CRT_AWAIT(crt_join(cx, &self->join, NULL));
    CRT_AWAIT(crt_local_set_join(cx, &self->set));
    CRT_END;
}
static void local_and_shared_tasks_do_not_starve_each_other(crt_runtime *rt)
{
    for (int i = 0; i < 2; i++) {
        mixed m = {.local_is_restless = i};
        stop_all = counted[0] = 0;
        CHECK_EQ(crt_block_on(rt, mixed_run, &m), 0);
        CHECK(counted[0] < 100000);   // it was told to stop, it did not run out
    }
}

// ---------------------------------------------------------------------------
// reproducible runs
// ---------------------------------------------------------------------------

typedef struct actor {
    crt_frame co;
    int number, i;
    crt_notify *n;
    CRT_SELECT(4) sel;
    crt_poll r, a, b, c, d;
} actor;
static crt_poll actor_run(void *frame, crt_cx *cx)
{
    actor *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 12; self->i++) {
        CRT_AWAIT(self->r = crt_select(cx, &self->sel,
            crt_on(cx, 0, self->a = crt_yield_now(cx)),
            crt_on(cx, 1, self->b = crt_sleep(cx, CRT_MS((self->number * 7 + self->i) % 5))),
            crt_on(cx, 2, self->c = crt_notified(cx, self->n)),
            crt_on(cx, 3, self->d = crt_sleep(cx, CRT_MS(self->i % 3)))));
        note(self->number * 10 + (int)self->r);
        if (self->r != 2) crt_notify_one(self->n);
        CRT_AWAIT(crt_sleep(cx, CRT_MS(self->r + self->number % 2)));
        note(10000 + (int)(crt_now(cx) / CRT_MS(1)));
        if (self->i == 4 && self->number < 100)
            crt_spawn(cx, actor_run, &(actor){.number = self->number + 100, .n = self->n});
    }
    CRT_END;
}
static crt_poll play_run(void *frame, crt_cx *cx)
{
    static crt_notify n;
    root *self = frame;
    CRT_BEGIN(self, cx);
    n = (crt_notify){.q = {0}};
    for (self->n = 0; self->n < 20; self->n++)
        crt_spawn_join(cx, &self->join[self->n], actor_run, &(actor){.number = self->n, .n = &n});
    CRT_AWAIT(join_all(self, cx));
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(10)));
    CRT_END;
}
static int play(uint64_t seed, int *out)
{
    crt_runtime *rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD, .start_paused = true, .seed = seed});
    root r = {.i = 0};
    traced = 0;
    CHECK_EQ(crt_block_on(rt, play_run, &r), 0);
    crt_runtime_drop(&rt);
    memcpy(out, trace, sizeof trace);
    return traced;
}
static void a_seed_repeats_the_schedule_exactly(void)
{
    static int first[8192], second[8192];
    int differ = 0, n1, n2;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        memset(first, 0, sizeof first);
        memset(trace, 0, sizeof trace);
        n1 = play(seed * 12345, first);
        memset(trace, 0, sizeof trace);
        n2 = play(seed * 12345, second);
        CHECK(n1 == 40 * 12 * 2 && n1 == n2);
        CHECK(!memcmp(first, second, sizeof first));
        memset(trace, 0, sizeof trace);
        n2 = play(seed * 12345 + 1, second);
        differ += memcmp(first, second, sizeof first) != 0;
    }
    CHECK_EQ(differ, 5);   // and the seed matters
}

// A hook that makes work as its worker is about to park: that runs at once, not when the next event comes.
static crt_handle *park_handle;   // atomic
static crt_notify park_done;
static crt_poll park_task_run(void *frame, crt_cx *cx)
{
    (void)frame, (void)cx;
    crt_notify_one(&park_done);   // nothing else will wake the worker
    return 0;
}
static void spawns_once(void *unused)
{
    int frame = 0;
    (void)unused;
    crt_handle *h = __atomic_exchange_n(&park_handle, NULL, __ATOMIC_SEQ_CST);
    if (h) CHECK_EQ(crt_handle_spawn(h, park_task_run, &frame), 0);
}
static int unparked;   // atomic
static void counts_unpark(void *unused)
{
    (void)unused;
    __atomic_fetch_add(&unparked, 1, __ATOMIC_SEQ_CST);
}
static crt_poll until_parked_run(void *frame, crt_cx *cx)
{
    crt_frame *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_notified(cx, &park_done));
    CRT_END;
}
static void a_park_hook_that_makes_work(void)
{
    for (int kind = 0; kind < 4; kind++) {
        crt_runtime *rt = runtime(&(crt_config){.flavor = kind & 1 ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD, .worker_threads = 1,
                                                .on_thread_park = spawns_once, .on_thread_unpark = kind & 2 ? counts_unpark : NULL});
        crt_frame frame = {0};
        crt_handle *h = crt_runtime_handle(rt);
        unparked = 0;
        __atomic_store_n(&park_handle, h, __ATOMIC_SEQ_CST);
        CHECK_EQ(crt_block_on(rt, until_parked_run, &frame), 0);
        if (kind & 2) CHECK(__atomic_load_n(&unparked, __ATOMIC_SEQ_CST) >= 1);
        crt_handle_drop(&h);
        crt_runtime_drop(&rt);
    }
}
// Whatever the seed is, no worker's generator stands still at 0.
static void a_seed_that_would_make_a_generator_stand_still(void)
{
    crt_runtime *rt = runtime(&(crt_config){.worker_threads = 2, .seed = 0 - 0x9E3779B97F4A7C15ull});
    CHECK_EQ(crt_runtime_shutdown(rt, CRT_FOREVER), 0);
    for (int i = 0; i < 2; i++) CHECK(rt->workers[i].rng != 0);
    crt_runtime_drop(&rt);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST(current_thread_runs_in_fifo_order);
    TEST(a_woken_task_goes_to_the_lifo_slot_where_there_is_one);
    TEST(the_injection_queue_has_every_31st_turn);
    TEST(the_drivers_have_a_look_every_61_tasks);
    TEST(a_yielding_task_runs_after_the_drivers_were_polled);
    TEST(a_task_out_of_budget_runs_after_the_drivers_were_polled);
    TEST(the_task_spawned_last_runs_first_unless_disabled);
    TEST(two_tasks_in_the_lifo_slot_do_not_starve_a_third);
    TEST(a_task_stuck_in_the_lifo_slot_is_taken_over_by_a_sleeper);
    TEST(a_stuck_task_is_taken_over_in_a_runtime_that_slept);
    TEST(a_stuck_task_is_taken_over_by_a_worker_that_is_busy);
    TEST(the_ring_is_fifo_at_any_index);
    TEST(a_full_ring_sends_half_and_the_new_one_to_the_injection_queue);
    TEST(a_thief_takes_half_rounded_up_and_the_last_to_run);
    TEST(a_thief_with_a_full_ring_or_beside_another_thief_takes_nothing);
    TEST(every_task_comes_out_of_the_ring_once);
    TEST(the_injection_queue_is_fifo);
    TEST(the_injection_queue_keeps_the_order_of_each_producer);
    TEST_ON_EACH(an_overflowing_queue_loses_no_task);
    TEST(idle_workers_steal_from_a_full_one);
    TEST(one_worker_wakes_the_next);
    TEST_ON_EACH(no_spawn_from_outside_is_slept_through);
    TEST(a_long_poll_does_not_stall_io_while_a_worker_is_idle);
    TEST(timers_due_together_are_not_stuck_behind_one_of_them);
    TEST(the_inject_interval_follows_the_poll_times);
    TEST_ON_EACH(an_idle_runtime_sleeps);
    TEST_ON_EACH(local_and_shared_tasks_do_not_starve_each_other);
    TEST(a_seed_repeats_the_schedule_exactly);
    TEST(a_seed_that_would_make_a_generator_stand_still);
    TEST(a_park_hook_that_makes_work);
    return test_end();
}
