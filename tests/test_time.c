// Sleep, timers, time-outs, intervals, and the virtual clock. What can be said exactly
// is said on the virtual clock; the real one is asked only "never early" and "not stuck".
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#ifndef _WIN32
#include <poll.h>
#endif

#define VIRTUAL .flavor = CRT_CURRENT_THREAD, .start_paused = true
#define SHARED(x) __atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define SET(x, v) __atomic_store_n(&(x), (v), __ATOMIC_SEQ_CST)
#define ADD(x, v) __atomic_fetch_add(&(x), (v), __ATOMIC_SEQ_CST)

static int64_t real_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
static void pause_ms(int ms) { (void)test_pause_us(ms * 1000L); }

// Runs one coroutine on a virtual clock.
static void on_virtual_clock(crt_fn fn, void *frame)
{
    crt_runtime *rt;
    CHECK_EQ(crt_runtime_new(&(crt_config){VIRTUAL, .log = {test_log, NULL, 0}}, &rt), 0);
    int64_t begun = real_now();
    CHECK_EQ(crt_block_on(rt, fn, frame), 0);
    CHECK(real_now() - begun < CRT_SEC(5));   // it jumped, it did not wait
    crt_runtime_drop(&rt);
}

// --- sleep

typedef struct plain {
    crt_frame co;
    int i;
    crt_duration d;
    crt_instant begun;
    int64_t real;
    crt_poll r;
} plain;

static crt_poll never_early_run(void *frame, crt_cx *cx)
{
    static const crt_duration d[] = {1, CRT_US(1), CRT_US(999), CRT_MS(1), CRT_MS(1) + 1, CRT_US(1500),
                                     CRT_MS(5), CRT_MS(20), CRT_US(70300)};
    plain *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < (int)(sizeof d / sizeof *d); self->i++) {
        self->begun = crt_now(cx);
        self->real = real_now();
        CRT_AWAIT(self->r = crt_sleep(cx, d[self->i]));
        CHECK_EQ(self->r, 0);
        CHECK(crt_now(cx) - self->begun >= d[self->i]);
        CHECK(real_now() - self->real >= d[self->i]);
    }
    for (self->i = 0; self->i < 20; self->i++) {
        self->d = crt_now(cx) + CRT_US(300) * self->i;
        CRT_AWAIT(self->r = crt_sleep_until(cx, self->d));
        CHECK_EQ(self->r, 0);
        CHECK(crt_now(cx) >= self->d);
    }
    CRT_END;
}
static void sleep_is_never_early(crt_runtime *rt)
{
    plain p = {.i = 0};
    CHECK_EQ(crt_block_on(rt, never_early_run, &p), 0);
}

static int early, woken;   // atomic
static crt_poll short_sleeper_run(void *frame, crt_cx *cx)
{
    plain *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 5; self->i++) {
        self->real = real_now();
        CRT_AWAIT(crt_sleep(cx, self->d));
        if (real_now() - self->real < self->d) ADD(early, 1);
        ADD(woken, 1);
        self->d = (self->d * 7 + 12345) % CRT_MS(17);
    }
    CRT_END;
}
typedef struct crowd {
    crt_frame co;
    int i;
    crt_join_handle *join[400];
    crt_poll r;
} crowd;
static crt_poll sleepers_run(void *frame, crt_cx *cx)
{
    crowd *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 400; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], short_sleeper_run,
                                &(plain){.d = CRT_US(self->i * 40)}), 0);
    for (self->i = 0; self->i < 400; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        CHECK_EQ(self->r, 0);
    }
    CRT_END;
}
static void many_sleepers_all_wake_and_none_early(crt_runtime *rt)
{
    crowd c = {.i = 0};
    early = woken = 0;
    CHECK_EQ(crt_block_on(rt, sleepers_run, &c), 0);
    CHECK_EQ(early, 0);
    CHECK_EQ(woken, 2000);
}

static crt_poll zero_run(void *frame, crt_cx *cx)
{
    plain *self = frame;
    CRT_BEGIN(self, cx);
    self->begun = crt_now(cx);
    CHECK_EQ(crt_sleep(cx, 0), 0);   // ready at the first poll: no await needed
    CHECK_EQ(crt_sleep(cx, -1), 0);
    CHECK_EQ(crt_sleep(cx, INT64_MIN), 0);
    CHECK_EQ(crt_sleep_until(cx, crt_now(cx)), 0);
    CHECK_EQ(crt_sleep_until(cx, crt_now(cx) - 1), 0);
    CHECK_EQ(crt_sleep_until(cx, INT64_MIN), 0);
    CHECK_EQ(crt_sleep_until(cx, 0), 0);
    CRT_END;
}
static void nothing_to_wait_for_is_ready_at_once(crt_runtime *rt)
{
    plain p = {.i = 0};
    CHECK_EQ(crt_block_on(rt, zero_run, &p), 0);
}

// A fraction is not cut off, and a constant of whole numbers stays one.
static void durations_may_be_fractions(void)
{
    static const crt_duration constant = CRT_SEC(0.25);
    enum { WHOLE = CRT_MS(3) / 1000000 };
    size_t n = 3;
    CHECK_EQ(constant, 250000000);
    CHECK_EQ(CRT_SEC(1.5f), 1500000000);
    CHECK_EQ(CRT_MS(0.5), 500000);
    CHECK_EQ(CRT_US(-1.5), -1500);
    CHECK_EQ(WHOLE, 3);
    CHECK_EQ(CRT_SEC(n) - CRT_MS((int)n * -2), 3006000000);
    CHECK_EQ(CRT_SEC(86400 * 365 * 100LL), 3153600000000000000);
}

// --- virtual clock: exact

static crt_poll exact_run(void *frame, crt_cx *cx)
{
    static const crt_duration d[] = {CRT_MS(1), CRT_MS(63), CRT_MS(64), CRT_MS(65), CRT_SEC(4), CRT_MS(4096),
                                     CRT_SEC(3600), CRT_SEC(86400 * 13LL), CRT_SEC(86400 * 400LL),
                                     CRT_SEC(86400 * 365 * 3LL), CRT_SEC(86400 * 365 * 100LL)};
    plain *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_now(cx), 0);
    for (self->i = 0; self->i < (int)(sizeof d / sizeof *d); self->i++) {
        self->begun = crt_now(cx);
        CRT_AWAIT(crt_sleep(cx, d[self->i]));
        CHECK_EQ(crt_now(cx) - self->begun, d[self->i]);
    }
    self->begun = crt_now(cx);   // between two ticks: the next tick
    CRT_AWAIT(crt_sleep(cx, CRT_US(10300)));
    CHECK_EQ(crt_now(cx) - self->begun, CRT_MS(11));
    CRT_AWAIT(crt_sleep_until(cx, self->begun + CRT_MS(50)));
    CHECK_EQ(crt_now(cx) - self->begun, CRT_MS(50));
    CRT_END;
}
static void the_virtual_clock_jumps_to_each_deadline(void)
{
    plain p = {.i = 0};
    on_virtual_clock(exact_run, &p);
}

static int order[2000], ordered;
typedef struct numbered {
    crt_frame co;
    int number;
    crt_duration d;
} numbered;
static crt_poll numbered_run(void *frame, crt_cx *cx)
{
    numbered *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, self->d));
    order[ordered++] = self->number;
    CRT_END;
}
// number = milliseconds, spawned out of order; among them far apart ones.
static crt_poll order_run(void *frame, crt_cx *cx)
{
    plain *self = frame;
    CRT_BEGIN(self, cx);
    for (int i = 0; i < 1000; i++) {
        int ms = i * 619 % 1000 * 13;
        crt_spawn(cx, numbered_run, &(numbered){.number = ms, .d = CRT_MS(ms)});
    }
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(60)));
    CRT_END;
}
static void timers_wake_in_the_order_of_their_deadlines(void)
{
    plain p = {.i = 0};
    ordered = 0;
    on_virtual_clock(order_run, &p);
    CHECK_EQ(ordered, 1000);
    for (int i = 1; i < ordered; i++) CHECK(order[i] > order[i - 1]);
}
static crt_poll same_tick_run(void *frame, crt_cx *cx)
{
    plain *self = frame;
    CRT_BEGIN(self, cx);
    for (int i = 0; i < 20; i++) crt_spawn(cx, numbered_run, &(numbered){.number = i, .d = self->d});
    CRT_AWAIT(crt_sleep(cx, self->d * 2));
    CRT_END;
}
// As in Tokio, libuv and everywhere else.
static void timers_for_the_same_tick_wake_in_the_order_they_were_set(void)
{
    for (int k = 0; k < 3; k++) {
        plain p = {.d = k == 0 ? CRT_MS(10) : k == 1 ? CRT_MS(200) : CRT_SEC(10)};
        ordered = 0;
        on_virtual_clock(same_tick_run, &p);
        CHECK_EQ(ordered, 20);
        for (int i = 0; i < ordered; i++) CHECK_EQ(order[i], i);
    }
}

// --- far deadlines

static crt_poll forever_run(void *frame, crt_cx *cx)
{
    plain *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_FOREVER));
    CHECK(!"the end of time");
    CRT_END;
}
typedef struct far_frame {
    crt_frame co;
    crt_join_handle *join, *job, *other;
    intptr_t result;
    crt_poll r;
    crt_instant begun, at;
    crt_timer timer;
    int i;
} far_frame;
static crt_poll far_run(void *frame, crt_cx *cx)
{
    far_frame *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_join(cx, &self->join, forever_run, &(plain){.i = 0}), 0);
    CHECK_EQ(crt_spawn_join(cx, &self->other, numbered_run, &(numbered){.d = INT64_MAX - 1}), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_FOREVER, crt_sleep(cx, CRT_MS(5))));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_timeout_at(cx, &self->timer, CRT_FOREVER, crt_sleep(cx, CRT_MS(5))));
    CHECK_EQ(self->r, 0);
    CHECK(!crt_is_finished(self->join));
    CHECK(!crt_is_finished(self->other));
    crt_abort(self->join);
    crt_abort(self->other);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK_EQ(self->r, CRT_ECANCELED);
    CRT_AWAIT(self->r = crt_join(cx, &self->other, NULL));
    CHECK_EQ(self->r, CRT_ECANCELED);
    CRT_END;
}
static void far_deadlines_do_not_overflow(crt_runtime *rt)
{
    far_frame f = {.i = 0};
    CHECK_EQ(crt_block_on(rt, far_run, &f), 0);
}
static void *wake_later(void *arg)
{
    pause_ms(20);
    crt_notify_one(arg);
    return NULL;
}
typedef struct outside {
    crt_frame co;
    crt_notify *n;
    crt_join_handle *join;
    crt_instant begun;
    crt_poll r;
} outside;
static crt_poll outside_run(void *frame, crt_cx *cx)
{
    outside *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_join(cx, &self->join, forever_run, &(plain){.i = 0}), 0);
    CRT_AWAIT(crt_notified(cx, self->n));   // from a plain thread, in real time
    self->begun = crt_now(cx);
    CHECK_EQ(self->begun, 0);
    if (self->begun == 0) {   // else there is no time left to sleep in
        CRT_AWAIT(crt_sleep(cx, CRT_SEC(1)));
        CHECK_EQ(crt_now(cx), CRT_SEC(1));
    }
    crt_abort(self->join);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK_EQ(self->r, CRT_ECANCELED);
    CRT_END;
}
// A sleep that never ends is no deadline to jump to: else the clock runs to its end.
static void auto_advance_does_not_run_off_to_forever(void)
{
    static crt_notify n;
    outside o = {.n = &n};
    pthread_t thread;
    pthread_create(&thread, NULL, wake_later, &n);
    on_virtual_clock(outside_run, &o);
    pthread_join(thread, NULL);
}

// --- crt_timer

typedef struct timing {
    crt_frame co;
    crt_timer t, u;
    CRT_SELECT(2) sel;
    crt_instant begun;
    crt_join_handle *join;
    crt_poll r, r2, r3;
    int i;
} timing;
static crt_poll timer_run(void *frame, crt_cx *cx)
{
    timing *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_timer_wait(cx, &self->t));
    CHECK_EQ(self->r, CRT_EINVAL);   // not set
    self->begun = crt_now(cx);
    crt_timer_reset(cx, &self->t, CRT_MS(10));
    CHECK(!crt_timer_is_elapsed(cx, &self->t));
    CRT_AWAIT(self->r = crt_timer_wait(cx, &self->t));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_now(cx) - self->begun, CRT_MS(10));
    CHECK(crt_timer_is_elapsed(cx, &self->t));
    CRT_AWAIT(self->r = crt_timer_wait(cx, &self->t));   // elapsed stays elapsed
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_now(cx) - self->begun, CRT_MS(10));
    crt_timer_reset(cx, &self->t, CRT_SEC(100));   // later, then earlier, before any wait
    crt_timer_reset(cx, &self->t, CRT_MS(5));
    CRT_AWAIT(crt_timer_wait(cx, &self->t));
    CHECK_EQ(crt_now(cx) - self->begun, CRT_MS(15));
    crt_timer_reset(cx, &self->t, -CRT_SEC(1));   // past
    CHECK(crt_timer_is_elapsed(cx, &self->t));
    CRT_AWAIT(crt_timer_wait(cx, &self->t));
    CHECK_EQ(crt_now(cx) - self->begun, CRT_MS(15));
    crt_timer_reset_at(cx, &self->t, self->begun + CRT_MS(40));
    CRT_AWAIT(crt_timer_wait(cx, &self->t));
    CHECK_EQ(crt_now(cx) - self->begun, CRT_MS(40));
    CRT_END;
}
static void a_timer_can_be_set_again(void)
{
    timing t = {.i = 0};
    on_virtual_clock(timer_run, &t);
}
// The usual loop around an idle timer, set once: its arm loses in the very poll that has set it, and it is awaited again.
// The clock that the first wait kept is not the second's (it was the deadline's tick, and the wheel went there).
static crt_poll at_first(int *turns) { return (*turns)++ ? CRT_PENDING : 0; }
static crt_notify no_news;
static crt_poll idle_run(void *frame, crt_cx *cx)
{
    timing *self = frame;
    CRT_BEGIN(self, cx);
    crt_timer_reset(cx, &self->t, 40 * CRT_SEC(86400));
    CRT_AWAIT(self->r = crt_select_biased(cx, &self->sel, crt_on(cx, 0, crt_timer_wait(cx, &self->t)),
                                          crt_on(cx, 1, at_first(&self->i))));
    CHECK_EQ(self->r, 1);
    CRT_AWAIT(self->r = crt_select_biased(cx, &self->sel, crt_on(cx, 0, crt_timer_wait(cx, &self->t)),
                                          crt_on(cx, 1, crt_notified(cx, &no_news))));
    CRT_END;
}
static crt_poll beside_idle_run(void *frame, crt_cx *cx)
{
    timing *self = frame;
    crt_poll r;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_join(cx, &self->join, idle_run, &(timing){.i = 0}), 0);
    CRT_AWAIT(crt_yield_now(cx));
    CRT_AWAIT(crt_yield_now(cx));
    self->begun = crt_now(cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(10)));
    CHECK_EQ(crt_now(cx) - self->begun, CRT_MS(10));
    crt_abort(self->join);
    CRT_AWAIT(r = crt_join(cx, &self->join, NULL));
    CHECK_EQ(r, CRT_ECANCELED);
    CRT_END;
}
static void a_timer_awaited_twice_in_the_poll_that_set_it_leaves_others_in_time(void)
{
    on_virtual_clock(beside_idle_run, &(timing){.i = 0});
}
// Nor is a clock kept where none was read, or where no poll is like the first: in turns without a worker's count.
static crt_poll idle_at_run(void *frame, crt_cx *cx)
{
    timing *self = frame;
    CRT_BEGIN(self, cx);
    crt_timer_reset_at(cx, &self->t, crt_now(cx) + 40 * CRT_SEC(86400));
    for (;;)
        CRT_AWAIT(self->r = crt_select_biased(cx, &self->sel, crt_on(cx, 0, crt_timer_wait(cx, &self->t)),
                                              crt_on(cx, 1, crt_notified(cx, &no_news))));
    CRT_END;
}
static int64_t slept;
static crt_poll sleeps_run(void *frame, crt_cx *cx)
{
    timing *self = frame;
    CRT_BEGIN(self, cx);
    crt_notify_one(&no_news);
    CRT_AWAIT(crt_yield_now(cx));
    CRT_AWAIT(crt_yield_now(cx));
    self->begun = crt_now(cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(10)));
    slept = crt_now(cx) - self->begun;
    CRT_END;
}
static void nor_does_one_set_to_an_instant_that_is_awaited_turn_by_turn(void)
{
    crt_runtime *rt;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt), 0);
    crt_handle *h = crt_runtime_handle(rt);
    slept = 0;
    CHECK_EQ(crt_handle_spawn(h, idle_at_run, &(timing){.i = 0}), 0);
    CHECK_EQ(crt_runtime_turn(rt, 0), 1);
    CHECK_EQ(crt_handle_spawn(h, sleeps_run, &(timing){.i = 0}), 0);
    for (int64_t begun = real_now(); !slept && real_now() - begun < CRT_SEC(3); pause_ms(1)) crt_runtime_turn(rt, 0);
    CHECK(slept >= CRT_MS(10));
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}
// Set in one poll and over in another, of whichever kind: it is ready at once, and comes before what is merely ready.
static crt_poll at_once(void) { return 0; }
static crt_poll over_later_run(void *frame, crt_cx *cx)
{
    timing *self = frame;
    CRT_BEGIN(self, cx);
    crt_timer_reset(cx, &self->t, CRT_MS(1));
    pause_ms(3);
    CRT_AWAIT(crt_yield_now(cx));
    CRT_AWAIT(self->r = crt_select_biased(cx, &self->sel, crt_on(cx, 0, crt_timer_wait(cx, &self->t)), crt_on(cx, 1, at_once())));
    CHECK_EQ(self->r, 0);
    CRT_END;
}
static crt_poll over_in_background_run(void *frame, crt_cx *cx)
{
    timing *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_ex(cx, &((crt_task_desc){.fn = over_later_run, .frame = &(timing){.i = 0}, .size = sizeof(timing),
                                                .priority = -1, .join = &self->join})), 0);
    CRT_AWAIT(crt_join(cx, &self->join, NULL));
    CRT_END;
}
static void a_timer_over_in_a_later_poll_is_ready_at_once(void)
{
    crt_runtime *rt;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt), 0);
    crt_handle *h = crt_runtime_handle(rt);
    CHECK_EQ(crt_block_on(rt, over_later_run, &(timing){.i = 0}), 0);
    CHECK_EQ(crt_block_on(rt, over_in_background_run, &(timing){.i = 0}), 0);
    CHECK_EQ(crt_handle_spawn(h, over_later_run, &(timing){.i = 0}), 0);
    for (int i = 0; i < 4; i++) crt_runtime_turn(rt, 0);
    CHECK_EQ(crt_runtime_turn(rt, 0), 0);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}
static crt_poll over_by_hand_run(void *frame, crt_cx *cx)
{
    timing *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_time_advance(cx->rt, CRT_MS(1)), 0);
    crt_timer_reset(cx, &self->t, CRT_MS(10));
    CHECK_EQ(crt_time_advance(cx->rt, CRT_MS(20)), 0);
    CRT_AWAIT(self->r = crt_select_biased(cx, &self->sel, crt_on(cx, 0, crt_timer_wait(cx, &self->t)), crt_on(cx, 1, at_once())));
    CHECK_EQ(self->r, 0);
    CRT_END;
}
static void nor_does_it_matter_by_which_hand_the_clock_went_on(void)
{
    on_virtual_clock(over_by_hand_run, &(timing){.i = 0});
}
// A watchdog: fed while it waits in a losing arm, it barks only when not fed.
static crt_poll watchdog_run(void *frame, crt_cx *cx)
{
    timing *self = frame;
    CRT_BEGIN(self, cx);
    self->begun = crt_now(cx);
    crt_timer_reset(cx, &self->t, CRT_MS(100));
    for (self->i = 0; self->i < 10; self->i++) {
        CRT_AWAIT(self->r = crt_select(cx, &self->sel,
            crt_on(cx, 0, self->r2 = crt_timer_wait(cx, &self->t)),
            crt_on(cx, 1, self->r3 = crt_sleep(cx, CRT_MS(60)))));
        CHECK_EQ(self->r, 1);
        crt_timer_reset(cx, &self->t, CRT_MS(100));
    }
    CRT_AWAIT(self->r = crt_select(cx, &self->sel,
        crt_on(cx, 0, self->r2 = crt_timer_wait(cx, &self->t)),
        crt_on(cx, 1, self->r3 = crt_sleep(cx, CRT_MS(160)))));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->r3, CRT_UNWIND);
    CHECK_EQ(crt_now(cx) - self->begun, CRT_MS(700));
    // Not reset, the losing timer goes on where it was.
    crt_timer_reset(cx, &self->t, CRT_MS(50));
    CRT_AWAIT(self->r = crt_select(cx, &self->sel,
        crt_on(cx, 0, self->r2 = crt_timer_wait(cx, &self->t)),
        crt_on(cx, 1, self->r3 = crt_sleep(cx, CRT_MS(30)))));
    CHECK_EQ(self->r, 1);
    CRT_AWAIT(crt_timer_wait(cx, &self->t));
    CHECK_EQ(crt_now(cx) - self->begun, CRT_MS(750));
    CRT_END;
}
static void a_timer_survives_a_lost_select_and_resets(void)
{
    timing t = {.i = 0};
    on_virtual_clock(watchdog_run, &t);
}

// A hand-written poll that resets a timer while it is pending in the wheel.
typedef struct pushed {
    crt_timer t;
    crt_waker waker;
    int polls;
} pushed;
static crt_poll pushed_poll(void *frame, crt_cx *cx)
{
    pushed *self = frame;
    if (!self->polls) crt_timer_reset(cx, &self->t, CRT_MS(10));
    crt_poll r = crt_timer_wait(cx, &self->t);
    if (self->polls++ < 5 && r == CRT_PENDING) {
        // Set it to a later time while it lies in the wheel, then wait again.
        crt_timer_reset(cx, &self->t, CRT_MS(10 * (self->polls + 1)));
        r = crt_timer_wait(cx, &self->t);
        crt_waker w = crt_waker_clone(cx);
        crt_wake(&w);
    }
    if (r == CRT_PENDING) return r;
    CHECK_EQ(r, 0);
    CHECK_EQ(crt_now(cx), CRT_MS(60));
    return 0;
}
// An idle limit: one arm waits, its sibling, polled before or after it, sets the limit anew.
typedef struct idle_limit {
    crt_frame co, sibling;
    CRT_SELECT(2) sel;
    crt_timer timer, guard;
    crt_interval beat;
    crt_poll r, w;
    crt_instant t0;
    int i, how;   // bit 0: the sibling comes first; bit 1: a tick of an interval is awaited
} idle_limit;
static crt_poll is_active_run(void *frame, crt_cx *cx)
{
    idle_limit *self = frame;
    crt_frame *co = &self->sibling;
    struct {
        crt_frame co;
    } *at = (void *)co;
    CRT_BEGIN(at, cx);
    for (self->i = 0; self->i < 3; self->i++) {
        CRT_AWAIT(crt_sleep(cx, CRT_MS(3)));
        if (self->how & 2) crt_interval_reset(cx, &self->beat);
        else crt_timer_reset(cx, &self->timer, CRT_MS(10));
    }
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(1)));
    CRT_END;
}
static crt_poll limit_run(void *frame, crt_cx *cx)
{
    idle_limit *self = frame;
    return self->how & 2 ? crt_interval_tick(cx, &self->beat) : crt_timer_wait(cx, &self->timer);
}
static crt_poll idle_limit_run(void *frame, crt_cx *cx)
{
    idle_limit *self = frame;
    CRT_BEGIN(self, cx);
    for (self->how = 0; self->how < 4; self->how++) {
        crt_interval_init(&self->beat, CRT_MS(10), CRT_SKIP);
        CRT_AWAIT(self->r = crt_interval_tick(cx, &self->beat));   // the first comes at once
        crt_timer_reset(cx, &self->timer, CRT_MS(10));
        self->t0 = crt_now(cx);
        CRT_AWAIT(self->w = crt_timeout(cx, &self->guard, CRT_MS(500), crt_select_biased(cx, &self->sel,
            crt_on(cx, 0, self->r = self->how & 1 ? is_active_run(self, cx) : limit_run(self, cx)),
            crt_on(cx, 1, self->r = self->how & 1 ? limit_run(self, cx) : is_active_run(self, cx)))));
        CHECK_EQ(self->w, self->how & 1);
        CHECK_EQ((crt_now(cx) - self->t0) / 1000000, 19);   // 10 ms after the last sign of life, at 9
        memset(&self->sibling, 0, sizeof self->sibling);
    }
    CRT_END;
}
static void a_reset_by_a_sibling_reaches_the_wait(void)
{
    idle_limit limit;
    memset(&limit, 0, sizeof limit);
    on_virtual_clock(idle_limit_run, &limit);
}

// A wait whose time is over at once takes of the budget, as any does: others have their turn.
typedef struct in_a_loop {
    crt_frame co;
    crt_timer timer;
    crt_notify never;
    crt_join_handle *join;
    crt_once_cell cell;
    CRT_SELECT(1) sel;
    crt_poll r;
    int how, n;
    bool ran;
} in_a_loop;
static crt_poll tells_run(void *frame, crt_cx *cx)
{
    (void)cx;
    **(bool **)frame = true;
    return 0;
}
static crt_poll in_a_loop_run(void *frame, crt_cx *cx)
{
    in_a_loop *self = frame;
    CRT_BEGIN(self, cx);
    for (self->how = 0; self->how < 5; self->how++) {
        bool *ran = &self->ran;
        self->ran = false;
        CHECK_EQ(crt_spawn_join(cx, &self->join, tells_run, &ran), 0);
        for (self->n = 0; self->n < 100000 && !self->ran; self->n++)
            CRT_AWAIT(self->r = self->how == 0 ? crt_timeout(cx, &self->timer, 0, crt_notified(cx, &self->never))
                              : self->how == 1 ? crt_timeout_at(cx, &self->timer, 1, crt_notified(cx, &self->never))
                              : self->how == 2 ? crt_fd_readable(cx, -1)
                              : self->how == 3 ? crt_once_cell_init(cx, &self->cell, 0)
                                               : crt_select(cx, &self->sel, crt_on_if(cx, 0, false, crt_notified(cx, &self->never))));
        CHECK(self->n < 1000);
        CHECK_EQ(self->r, self->how < 2 ? CRT_ETIMEDOUT : self->how == 2 ? -EBADF : self->how == 3 ? 0 : CRT_EINVAL);
        CRT_AWAIT(crt_join(cx, &self->join, NULL));
    }
    CRT_END;
}
static void a_wait_that_is_over_at_once_lets_others_run(void)
{
    crt_runtime *rt;
    in_a_loop loop;
    memset(&loop, 0, sizeof loop);
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .log.func = test_log}, &rt), 0);
    CHECK_EQ(crt_block_on(rt, in_a_loop_run, &loop), 0);
    crt_runtime_drop(&rt);
}

static void a_reset_while_pending_replaces_the_deadline(void)
{
    pushed p;
    memset(&p, 0, sizeof p);
    on_virtual_clock(pushed_poll, &p);
}

// --- time-out

static int cleanups;   // atomic
typedef struct slow {
    crt_frame co;
    crt_duration d, cleanup;
    crt_poll result;
} slow;
static crt_poll slow_run(void *frame, crt_cx *cx)
{
    slow *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, self->d));
    CRT_RETURN(self->result);
    CRT_FINALLY
        CRT_AWAIT(crt_sleep(cx, self->cleanup));
        ADD(cleanups, 1);
    CRT_END;
}
typedef struct out_frame {
    crt_frame co;
    crt_timer t, u;
    slow a;
    crt_instant begun;
    crt_poll r, inner;
} out_frame;
static crt_poll timeout_run(void *frame, crt_cx *cx)
{
    out_frame *self = frame;
    CRT_BEGIN(self, cx);
    self->a = (slow){.d = CRT_MS(10), .cleanup = CRT_MS(3), .result = 42};
    cleanups = 0;
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t, CRT_MS(20), slow_run(&self->a, cx)));
    CHECK_EQ(self->r, 42);
    CHECK_EQ(cleanups, 1);
    CHECK_EQ(crt_now(cx), CRT_MS(13));
    self->a.result = -7;   // an error of the expression passes through
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t, CRT_MS(20), slow_run(&self->a, cx)));
    CHECK_EQ(self->r, -7);
    CHECK_EQ(cleanups, 2);

    self->begun = crt_now(cx);   // late: cancelled to the end of its cleanup first
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t, CRT_MS(5), slow_run(&self->a, cx)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(cleanups, 3);
    CHECK_EQ(crt_now(cx) - self->begun, CRT_MS(8));

    self->begun = crt_now(cx);   // no time at all: the expression is polled first
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t, 0, crt_sleep(cx, 0)));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t, 0, crt_sleep(cx, CRT_MS(1))));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t, -CRT_SEC(1), crt_sleep(cx, CRT_MS(1))));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CRT_AWAIT(self->r = crt_timeout_at(cx, &self->t, 0, crt_sleep(cx, CRT_MS(1))));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(crt_now(cx), self->begun);
    CRT_AWAIT(self->r = crt_timeout_at(cx, &self->t, self->begun + CRT_MS(4), crt_sleep(cx, CRT_SEC(1))));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(crt_now(cx) - self->begun, CRT_MS(4));

    // Both due at once: the expression wins, as in Tokio.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t, CRT_MS(7), crt_sleep(cx, CRT_MS(7))));
    CHECK_EQ(self->r, 0);

    // One inside the other: the inner, then the outer is the first to end.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t, CRT_MS(50),
        self->inner = crt_timeout(cx, &self->u, CRT_MS(10), crt_sleep(cx, CRT_SEC(1)))));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(self->inner, CRT_ETIMEDOUT);
    cleanups = 0;
    self->begun = crt_now(cx);
    self->a.d = CRT_SEC(1);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t, CRT_MS(10),
        self->inner = crt_timeout(cx, &self->u, CRT_MS(50), slow_run(&self->a, cx))));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(self->inner, CRT_UNWIND);
    CHECK_EQ(cleanups, 1);
    CHECK_EQ(crt_now(cx) - self->begun, CRT_MS(13));
    CRT_END;
}
static void a_timeout_gives_the_result_or_cancels_to_the_end(void)
{
    out_frame f;
    memset(&f, 0, sizeof f);
    on_virtual_clock(timeout_run, &f);
}
static crt_poll race_run(void *frame, crt_cx *cx)
{
    out_frame *self = frame;
    CRT_BEGIN(self, cx);
    for (self->begun = 0; self->begun < 30; self->begun++) {
        CRT_AWAIT(self->r = crt_timeout(cx, &self->t, CRT_MS(1) + self->begun % 3 * CRT_US(500),
                                        crt_sleep(cx, CRT_MS(1))));
        CHECK(self->r == 0 || self->r == CRT_ETIMEDOUT);
        ADD(woken, 1);
    }
    CRT_END;
}
typedef struct racers {
    crt_frame co;
    crt_join_handle *join[64];
    int i;
    crt_poll r;
} racers;
static crt_poll racers_run(void *frame, crt_cx *cx)
{
    racers *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 64; self->i++) {
        static out_frame zero;
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], race_run, &zero), 0);
    }
    for (self->i = 0; self->i < 64; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        CHECK_EQ(self->r, 0);
    }
    CRT_END;
}
static void a_timeout_that_races_its_expression_gives_one_of_the_two(crt_runtime *rt)
{
    racers r = {.i = 0};
    woken = 0;
    CHECK_EQ(crt_block_on(rt, racers_run, &r), 0);
    CHECK_EQ(woken, 64 * 30);
}

// --- interval

typedef struct ticks {
    crt_frame co;
    crt_missed behavior;
    crt_duration work;      // after the first tick
    crt_interval i;
    CRT_SELECT(2) sel;
    crt_poll r, r2;
    int n;
    int64_t at[8];          // ms of each tick
} ticks;
static crt_poll ticks_run(void *frame, crt_cx *cx)
{
    ticks *self = frame;
    CRT_BEGIN(self, cx);
    crt_interval_init(&self->i, CRT_MS(50), self->behavior);
    for (self->n = 0; self->n < 8; self->n++) {
        CRT_AWAIT(self->r = crt_interval_tick(cx, &self->i));
        CHECK_EQ(self->r, 0);
        self->at[self->n] = crt_now(cx) / CRT_MS(1);
        if (self->n == 0) CRT_AWAIT(crt_sleep(cx, self->work));
    }
    CRT_END;
}
static void check_ticks(crt_missed behavior, crt_duration work, const int want[8])
{
    ticks t = {.behavior = behavior, .work = work};
    on_virtual_clock(ticks_run, &t);
    for (int i = 0; i < 8; i++) CHECK_EQ(t.at[i], want[i]);
}
// The numbers are those of Tokio's documentation of MissedTickBehavior.
static void an_interval_treats_missed_ticks_as_told(void)
{
    check_ticks(CRT_BURST, 0, (int[8]){0, 50, 100, 150, 200, 250, 300, 350});
    check_ticks(CRT_BURST, CRT_MS(200), (int[8]){0, 200, 200, 200, 200, 250, 300, 350});
    check_ticks(CRT_DELAY, 0, (int[8]){0, 50, 100, 150, 200, 250, 300, 350});
    check_ticks(CRT_DELAY, CRT_MS(130), (int[8]){0, 130, 180, 230, 280, 330, 380, 430});
    check_ticks(CRT_SKIP, 0, (int[8]){0, 50, 100, 150, 200, 250, 300, 350});
    check_ticks(CRT_SKIP, CRT_MS(225), (int[8]){0, 225, 250, 300, 350, 400, 450, 500});
    check_ticks(CRT_SKIP, CRT_MS(200), (int[8]){0, 200, 250, 300, 350, 400, 450, 500});
    // Up to 5 ms late is in time.
    check_ticks(CRT_DELAY, CRT_MS(54), (int[8]){0, 54, 100, 150, 200, 250, 300, 350});
    check_ticks(CRT_SKIP, CRT_MS(54), (int[8]){0, 54, 100, 150, 200, 250, 300, 350});
    check_ticks(CRT_DELAY, CRT_MS(56), (int[8]){0, 56, 106, 156, 206, 256, 306, 356});
}
static crt_poll interval_run(void *frame, crt_cx *cx)
{
    ticks *self = frame;
    CRT_BEGIN(self, cx);
    crt_interval_init(&self->i, 0, CRT_BURST);
    CRT_AWAIT(self->r = crt_interval_tick(cx, &self->i));
    CHECK_EQ(self->r, CRT_EINVAL);
    crt_interval_init(&self->i, -1, CRT_BURST);
    CRT_AWAIT(self->r = crt_interval_tick(cx, &self->i));
    CHECK_EQ(self->r, CRT_EINVAL);
    // A tick that lost a select is not lost.
    crt_interval_init(&self->i, CRT_MS(100), CRT_BURST);
    CRT_AWAIT(crt_interval_tick(cx, &self->i));
    for (self->n = 0; self->n < 3; self->n++) {
        CRT_AWAIT(self->r = crt_select(cx, &self->sel,
            crt_on(cx, 0, self->r2 = crt_interval_tick(cx, &self->i)),
            crt_on(cx, 1, crt_sleep(cx, CRT_MS(30)))));
        CHECK_EQ(self->r, 1);
    }
    CRT_AWAIT(crt_interval_tick(cx, &self->i));
    CHECK_EQ(crt_now(cx), CRT_MS(100));
    // Reset: one period from now.
    CRT_AWAIT(crt_sleep(cx, CRT_MS(30)));
    crt_interval_reset(cx, &self->i);
    CRT_AWAIT(crt_interval_tick(cx, &self->i));
    CHECK_EQ(crt_now(cx), CRT_MS(230));
    CRT_AWAIT(crt_interval_tick(cx, &self->i));
    CHECK_EQ(crt_now(cx), CRT_MS(330));
    // A period without end ticks once.
    crt_interval_init(&self->i, CRT_FOREVER, CRT_SKIP);
    CRT_AWAIT(self->r = crt_interval_tick(cx, &self->i));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_select(cx, &self->sel,
        crt_on(cx, 0, self->r2 = crt_interval_tick(cx, &self->i)),
        crt_on(cx, 1, crt_sleep(cx, CRT_SEC(1000)))));
    CHECK_EQ(self->r, 1);
    CRT_END;
}
static void an_interval_is_cancel_safe_and_can_be_reset(void)
{
    ticks t = {.n = 0};
    on_virtual_clock(interval_run, &t);
}
static crt_poll real_interval_run(void *frame, crt_cx *cx)
{
    ticks *self = frame;
    CRT_BEGIN(self, cx);
    crt_interval_init(&self->i, CRT_MS(4), CRT_BURST);
    self->at[0] = real_now();
    for (self->n = 0; self->n < 10; self->n++) CRT_AWAIT(crt_interval_tick(cx, &self->i));
    CHECK(real_now() - self->at[0] >= CRT_MS(36));
    CRT_END;
}
static void an_interval_is_never_early(crt_runtime *rt)
{
    ticks t = {.n = 0};
    CHECK_EQ(crt_block_on(rt, real_interval_run, &t), 0);
}

// --- the clock itself

static void the_virtual_clock_needs_a_current_thread_runtime(void)
{
    crt_runtime *rt;
    test_log_clear();
    CHECK_EQ(crt_runtime_new(&(crt_config){.worker_threads = 1, .log = {test_log, NULL, 0}}, &rt), 0);
    CHECK_EQ(crt_time_pause(rt), CRT_EINVAL);
    CHECK_EQ(crt_time_resume(rt), CRT_EINVAL);
    CHECK_EQ(crt_time_advance(rt, 1), CRT_EINVAL);
    CHECK(test_log_has("crt_time_advance"));
    crt_runtime_drop(&rt);
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .drivers = CRT_DRIVER_IO,
                                           .log = {test_log, NULL, 0}}, &rt), 0);
    CHECK_EQ(crt_time_pause(rt), CRT_EINVAL);
    crt_runtime_drop(&rt);
}
typedef struct clocked {
    crt_frame co;
    crt_runtime *rt;
    crt_instant begun;
    crt_join_handle *join;
    int i;
} clocked;
static crt_poll clock_run(void *frame, crt_cx *cx)
{
    clocked *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_time_advance(cx->rt, CRT_SEC(1)), CRT_EINVAL);   // runs
    self->begun = crt_now(cx);
    pause_ms(3);
    CHECK(crt_now(cx) - self->begun >= CRT_MS(3));
    CHECK_EQ(crt_time_pause(cx->rt), 0);
    CHECK_EQ(crt_time_pause(cx->rt), 0);   // again: nothing
    self->begun = crt_now(cx);
    for (self->i = 0; self->i < 200; self->i++) CRT_YIELD();   // busy: no jump
    pause_ms(3);
    CHECK_EQ(crt_now(cx), self->begun);
    CHECK_EQ(crt_time_advance(cx->rt, -1), CRT_EINVAL);
    CHECK_EQ(crt_time_advance(cx->rt, 0), 0);
    CHECK_EQ(crt_now(cx), self->begun);
    CHECK_EQ(crt_time_advance(cx->rt, CRT_NS(12345)), 0);
    CHECK_EQ(crt_now(cx) - self->begun, 12345);
    CHECK_EQ(crt_time_resume(cx->rt), 0);
    CHECK_EQ(crt_time_resume(cx->rt), 0);
    CHECK(crt_now(cx) - self->begun >= 12345);   // goes on from where it stood
    CHECK(crt_now(cx) - self->begun < CRT_SEC(1));
    CRT_AWAIT(crt_sleep(cx, CRT_MS(2)));
    CHECK(crt_now(cx) - self->begun >= CRT_MS(2) + 12345);
    CHECK_EQ(crt_time_pause(cx->rt), 0);   // jumping again
    self->begun = crt_now(cx);
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(3600)));
    CHECK(crt_now(cx) - self->begun >= CRT_SEC(3600));
    CHECK(crt_now(cx) - self->begun <= CRT_SEC(3600) + CRT_MS(1));
    CHECK_EQ(crt_time_advance(cx->rt, CRT_FOREVER), 0);   // no overflow
    CHECK_EQ(crt_now(cx), INT64_MAX / 2);
    CRT_END;
}
static void the_clock_pauses_resumes_and_advances(void)
{
    crt_runtime *rt;
    clocked c = {.i = 0};
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt), 0);
    CHECK_EQ(crt_block_on(rt, clock_run, &c), 0);
    crt_runtime_drop(&rt);
}
static crt_poll advance_run(void *frame, crt_cx *cx)
{
    clocked *self = frame;
    CRT_BEGIN(self, cx);
    ordered = 0;
    crt_spawn(cx, numbered_run, &(numbered){.number = 1, .d = CRT_MS(10)});
    crt_spawn(cx, numbered_run, &(numbered){.number = 3, .d = CRT_SEC(30)});
    crt_spawn(cx, numbered_run, &(numbered){.number = 2, .d = CRT_SEC(20)});
    CRT_YIELD();
    CHECK_EQ(crt_time_advance(cx->rt, CRT_MS(10) - 1), 0);
    CRT_YIELD();
    CRT_YIELD();
    CHECK_EQ(ordered, 0);   // not a nanosecond early
    CHECK_EQ(crt_time_advance(cx->rt, 1), 0);
    CRT_YIELD();
    CHECK_EQ(ordered, 1);
    CHECK_EQ(crt_time_advance(cx->rt, CRT_SEC(40)), 0);   // over both
    CHECK_EQ(crt_now(cx), CRT_SEC(40) + CRT_MS(10));
    CRT_YIELD();
    CHECK_EQ(ordered, 3);
    CHECK_EQ(order[1], 2);
    CHECK_EQ(order[2], 3);
    CRT_END;
}
static void advance_wakes_what_is_due_and_nothing_else(void)
{
    clocked c = {.i = 0};
    on_virtual_clock(advance_run, &c);
}

static int job_ended, job_begun;   // atomic
static intptr_t slow_job(void *arg)
{
    SET(job_begun, 1);
    pause_ms((int)(intptr_t)arg);
    SET(job_ended, 1);
    return 1;
}
static crt_poll inhibited_run(void *frame, crt_cx *cx)
{
    far_frame *self = frame;
    CRT_BEGIN(self, cx);
    job_ended = 0;
    CHECK_EQ(crt_spawn_blocking(cx, &self->job, slow_job, (void *)(intptr_t)40), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(10)));
    CHECK_EQ(SHARED(job_ended), 1);   // time stood while it ran
    CHECK_EQ(crt_now(cx), CRT_SEC(10));
    CRT_AWAIT(self->r = crt_join(cx, &self->job, &self->result));
    CHECK_EQ(self->result, 1);
    // A time-out around a job that takes real time does not fire.
    CHECK_EQ(crt_spawn_blocking(cx, &self->job, slow_job, (void *)(intptr_t)20), 0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(1), crt_join(cx, &self->job, &self->result)));
    CHECK_EQ(self->r, 0);
    CRT_END;
}
static void auto_advance_waits_for_blocking_jobs(void)
{
    far_frame f = {.i = 0};
    on_virtual_clock(inhibited_run, &f);
}
static intptr_t advancing_job(void *arg)
{
    pause_ms(10);
    CHECK_EQ(crt_time_advance(arg, CRT_SEC(5)), 0);
    for (int i = 0; i < 5000 && !SHARED(woken); i++) pause_ms(1);
    return SHARED(woken);
}
static crt_poll advanced_run(void *frame, crt_cx *cx)
{
    far_frame *self = frame;
    CRT_BEGIN(self, cx);
    woken = 0;
    self->at = crt_now(cx) + CRT_SEC(5);   // the job may come before the sleep
    CHECK_EQ(crt_spawn_blocking(cx, &self->job, advancing_job, cx->rt), 0);
    CRT_AWAIT(crt_sleep_until(cx, self->at));
    SET(woken, 1);
    CRT_AWAIT(self->r = crt_join(cx, &self->job, &self->result));
    CHECK_EQ(self->result, 1);   // the sleeper ran while the job still did
    CRT_END;
}
static void advance_from_a_blocking_job_wakes_the_runtime(void)
{
    far_frame f = {.i = 0};
    on_virtual_clock(advanced_run, &f);
}
static intptr_t resuming_job(void *arg)
{
    pause_ms(10);
    CHECK_EQ(crt_time_resume(arg), 0);
    for (int i = 0; i < 1000 && !SHARED(woken); i++) pause_ms(1);
    int in_time = SHARED(woken);
    crt_handle *h = crt_handle_current();   // if it sleeps on: wake it, so that the test ends
    if (!in_time) crt_handle_spawn(h, zero_run, &(plain){.i = 0});
    crt_handle_drop(&h);
    return in_time;
}
static crt_poll resumed_run(void *frame, crt_cx *cx)
{
    far_frame *self = frame;
    CRT_BEGIN(self, cx);
    woken = 0;
    CHECK_EQ(crt_spawn_blocking(cx, &self->job, resuming_job, cx->rt), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(20)));
    SET(woken, 1);
    CRT_AWAIT(self->r = crt_join(cx, &self->job, &self->result));
    CHECK_EQ(self->result, 1);   // the sleeper woke while the job still ran
    CRT_END;
}
// The runtime sleeps without a time-out meanwhile: resume has to wake it.
static void resume_from_a_blocking_job_sets_timers_going(void)
{
    far_frame f = {.i = 0};
    on_virtual_clock(resumed_run, &f);
}

// --- the driver is off

typedef struct no_time {
    crt_frame co;
    crt_timer t, u;
    crt_interval i;
    crt_notify never;
    crt_poll r;
} no_time;
static crt_poll no_time_run(void *frame, crt_cx *cx)
{
    no_time *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_sleep(cx, CRT_MS(1)));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    CRT_AWAIT(self->r = crt_sleep_until(cx, crt_now(cx) + CRT_MS(1)));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    crt_interval_init(&self->i, CRT_MS(1), CRT_BURST);
    CRT_AWAIT(self->r = crt_interval_tick(cx, &self->i));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    crt_timer_reset(cx, &self->t, CRT_MS(1));
    CRT_AWAIT(self->r = crt_timer_wait(cx, &self->t));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->u, CRT_MS(1), crt_notified(cx, &self->never)));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    CRT_END;
}
static void timers_without_the_driver_say_so(void)
{
    for (int flavor = 0; flavor < 2; flavor++)
        for (unsigned drivers = 0; drivers < 2; drivers++) {
            crt_runtime *rt;
            no_time t = {.r = 0};
            test_log_clear();
            CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = flavor, .worker_threads = 1, .log = {test_log, NULL, 0},
                .drivers = drivers ? (unsigned)CRT_DRIVER_IO : (unsigned)CRT_DRIVER_NONE}, &rt), 0);
            CHECK_EQ(crt_block_on(rt, no_time_run, &t), 0);
            CHECK(test_log_has("CRT_DRIVER_TIME"));
            crt_runtime_drop(&rt);
        }
}
// Only the timers: no reactor to wait in.
static void timers_work_without_the_io_driver(void)
{
    for (int flavor = 0; flavor < 2; flavor++) {
        crt_runtime *rt;
        plain p = {.i = 0};
        crowd c = {.i = 0};
        CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = flavor, .worker_threads = flavor ? 1 : 2,
                                               .drivers = CRT_DRIVER_TIME}, &rt), 0);
        CHECK_EQ(crt_block_on(rt, never_early_run, &p), 0);
        early = woken = 0;
        CHECK_EQ(crt_block_on(rt, sleepers_run, &c), 0);
        CHECK_EQ(early, 0);
        CHECK_EQ(woken, 2000);
        crt_runtime_drop(&rt);
    }
}

// --- timers and workers

static int parked_beside[16];   // atomic: the worker where a sleeper's timer lies
static int fired_in_time, hog_ended;            // atomic
static crt_poll beside_run(void *frame, crt_cx *cx)
{
    numbered *self = frame;
    CRT_BEGIN(self, cx);
    SET(parked_beside[self->number], (int)cx->worker->index + 1);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(60)));
    if (!SHARED(hog_ended)) ADD(fired_in_time, 1);
    CRT_END;
}
typedef struct hog {
    crt_frame co;
    crt_join_handle *join[16];
    int i, beside;
    crt_poll r;
} hog;
static crt_poll hog_run(void *frame, crt_cx *cx)
{
    hog *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 16; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], beside_run, &(numbered){.number = self->i}), 0);
    do {   // until all timers are set
        CRT_YIELD();
        self->beside = 0;
        for (int i = 0; i < 16; i++) self->beside += SHARED(parked_beside[i]) != 0;
    } while (self->beside < 16);
    self->beside = 0;
    for (int i = 0; i < 16; i++) self->beside += SHARED(parked_beside[i]) == (int)cx->worker->index + 1;
    pause_ms(300);   // a long poll, with `beside` timers in this worker's wheel
    SET(hog_ended, 1);
    for (self->i = 0; self->i < 16; self->i++) CRT_AWAIT(crt_join(cx, &self->join[self->i], NULL));
    CRT_RETURN(self->beside);
    CRT_END;
}
static void timers_of_a_stuck_worker_fire_through_another(void)
{
    crt_runtime *rt;
    crt_poll beside = 0;
    CHECK_EQ(crt_runtime_new(&(crt_config){.worker_threads = 2}, &rt), 0);
    for (int round = 0; round < 5 && beside < 1; round++) {
        hog h = {.i = 0};
        fired_in_time = hog_ended = 0;
        memset(parked_beside, 0, sizeof parked_beside);
        beside = crt_block_on(rt, hog_run, &h);
        CHECK_EQ(fired_in_time, 16);
    }
    CHECK(beside > 0);   // else nothing was tested
    crt_runtime_drop(&rt);
}

// Tasks that move between workers while a time-out of theirs stays in a wheel.
typedef struct mover {
    crt_frame co;
    crt_timer t;
    int i;
    uint32_t where;
    crt_poll r;
} mover;
static int moved;   // atomic
static crt_poll hop_run(void *frame, crt_cx *cx)
{
    plain *self = frame;
    CRT_BEGIN(self, cx);
    CRT_YIELD();
    CRT_YIELD();
    if (self->i % 5 == 0) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CRT_RETURN(3);
    CRT_END;
}
typedef struct mover_all {
    mover m;
    plain hop;
} mover_all;
static crt_poll mover_run(void *frame, crt_cx *cx)
{
    mover_all *all = frame;
    mover *self = &all->m;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 100; self->i++) {
        all->hop = (plain){.i = self->i};
        self->where = cx->worker->index;
        CRT_AWAIT(self->r = crt_timeout(cx, &self->t, CRT_SEC(100), hop_run(&all->hop, cx)));
        CHECK_EQ(self->r, 3);
        if (cx->worker->index != self->where) ADD(moved, 1);
    }
    CRT_END;
}
static crt_poll movers_run(void *frame, crt_cx *cx)
{
    crowd *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 200; self->i++) {
        static mover_all zero;
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], mover_run, &zero), 0);
    }
    for (self->i = 0; self->i < 200; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        CHECK_EQ(self->r, 0);
    }
    CRT_END;
}
static void timers_are_cancelled_from_other_workers(crt_runtime *rt)
{
    moved = 0;
    for (int round = 0; round < 100; round++) {   // once, unless the machine leaves the other workers no time
        crowd c = {.i = 0};
        CHECK_EQ(crt_block_on(rt, movers_run, &c), 0);
        if (moved || rt->worker_count == 1) break;
    }
    if (rt->worker_count > 1) CHECK(moved > 0);   // else nothing was tested
    for (uint32_t i = 0; i < rt->worker_count; i++) {
        crt__wheel *w = &rt->workers[i].wheel;
        crt__lock(&w->lock);
        for (int l = 0; l < CRT__WHEEL_LEVELS; l++) CHECK_EQ(w->occupied[l], 0);
        crt__unlock(&w->lock);
    }
}

// A worker sleeps in the driver for a late timer; an earlier one is set elsewhere.
typedef struct short_frame {
    crt_frame co;
    int ms;
} short_frame;
static crt_poll short_run(void *frame, crt_cx *cx)
{
    short_frame *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(self->ms)));
    CRT_END;
}
static crt_notify driven_enough;
typedef struct late_frame {
    crt_frame co;
    crt_timer timer;
    crt_poll r;
} late_frame;
static crt_poll late_run(void *frame, crt_cx *cx)
{
    late_frame *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(100), crt_notified(cx, &driven_enough)));
    CHECK_EQ(self->r, 0);
    CRT_END;
}
static void *drive_thread(void *arg)
{
    CHECK_EQ(crt_block_on(arg, late_run, &(late_frame){.r = 0}), 0);
    return NULL;
}
static void an_earlier_timer_cuts_the_wait_short(crt_runtime *rt)
{
    crt_handle *h = crt_runtime_handle(rt);
    pthread_t thread;
    crt_join_handle *join;
    CHECK_EQ(pthread_create(&thread, NULL, drive_thread, rt), 0);   // also drives the current thread
    pause_ms(20);
    int64_t begun = real_now();
    for (int i = 0; i < 40; i++) {
        CHECK_EQ(crt_handle_spawn_join(h, &join, short_run, &(short_frame){.ms = 2 + i % 5}), 0);
        CHECK_EQ(crt_join_blocking(&join, NULL), 0);
    }
    CHECK(real_now() - begun < CRT_SEC(20));   // 160 ms of sleep
    crt_notify_one(&driven_enough);
    pthread_join(thread, NULL);
    crt_handle_drop(&h);
}

// A wait that an expression has given up by hand is not the next one's.
static bool enough;
typedef struct waker_frame {
    crt_frame co;
    crt_waker w;
} waker_frame;
static crt_poll enough_run(void *frame, crt_cx *cx)
{
    waker_frame *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
    enough = true;
    crt_wake(&self->w);
    CRT_END;
}
static crt_poll until_enough(crt_cx *cx) { return enough ? 1 : crt_sleep(cx, CRT_SEC(10)); }
static crt_poll given_up_run(void *frame, crt_cx *cx)
{
    timing *self = frame;
    CRT_BEGIN(self, cx);
    self->begun = crt_now(cx);
    enough = false;
    CHECK_EQ(crt_spawn(cx, enough_run, &(waker_frame){.w = crt_waker_clone(cx)}), 0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t, CRT_SEC(20), until_enough(cx)));
    CHECK_EQ(self->r, 1);
    CHECK_EQ(crt_now(cx) - self->begun, CRT_MS(5));
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CHECK_EQ(crt_now(cx) - self->begun, CRT_MS(6));
    CRT_END;
}
static void a_wait_given_up_inside_a_timeout_is_over(void)
{
    on_virtual_clock(given_up_run, &(timing){.i = 0});
}
// A clock that is paused goes on, by a job's hand, while the poll of a task has set a timer that is not yet in the
// wheel: the timer is due when it comes there, and the driver serves it, though the job goes on.
static int late_set, late_gone, late_fired;   // atomic
static crt_poll overdue_run(void *frame, crt_cx *cx)
{
    crt_poll r = crt_sleep(cx, CRT_MS(5));
    (void)frame;
    if (r == CRT_PENDING && !__atomic_exchange_n(&late_set, 1, __ATOMIC_SEQ_CST))
        while (!__atomic_load_n(&late_gone, __ATOMIC_SEQ_CST)) pause_ms(1);
    if (r == 0) __atomic_store_n(&late_fired, 1, __ATOMIC_SEQ_CST);
    return r;
}
static intptr_t late_job(void *rt)
{
    while (!__atomic_load_n(&late_set, __ATOMIC_SEQ_CST)) pause_ms(1);
    CHECK_EQ(crt_time_advance(rt, CRT_MS(10)), 0);
    __atomic_store_n(&late_gone, 1, __ATOMIC_SEQ_CST);
    for (int64_t begun = real_now(); !__atomic_load_n(&late_fired, __ATOMIC_SEQ_CST); pause_ms(1))
        if (real_now() - begun > CRT_SEC(3)) return 0;
    return 1;
}
static intptr_t long_job(void *unused)
{
    pause_ms(20);
    return (intptr_t)unused;
}
static crt_poll late_root_run(void *frame, crt_cx *cx)
{
    timing *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 2; self->i++) {   // so that the driver does not spin for jobs
        CHECK_EQ(crt_spawn_blocking(cx, &self->join, long_job, NULL), 0);
        CRT_AWAIT(crt_join(cx, &self->join, NULL));
        CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    }
    CHECK_EQ(crt_spawn_blocking(cx, &self->join, late_job, cx->rt), 0);
    CHECK_EQ(crt_spawn(cx, overdue_run, &(crt_frame){0}), 0);
    CRT_AWAIT(crt_join(cx, &self->join, &self->r));
    CHECK_EQ(self->r, 1);
    CRT_END;
}
static void a_timer_that_is_due_when_it_is_set_fires_while_a_job_runs(void)
{
    __atomic_store_n(&late_set, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&late_gone, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&late_fired, 0, __ATOMIC_SEQ_CST);
    on_virtual_clock(late_root_run, &(timing){.i = 0});
}
// What the poll has set that asks counts.
static crt_poll asks_run(void *frame, crt_cx *cx)
{
    timing *self = frame;
    CRT_BEGIN(self, cx);
    crt_timer_reset(cx, &self->t, CRT_MS(50));
    CHECK_EQ(crt_timer_wait(cx, &self->t), CRT_PENDING);
    CHECK(crt_runtime_next_deadline(cx->rt) <= CRT_MS(51));
    crt_timer_stop(&self->t);
    CHECK_EQ(crt_runtime_next_deadline(cx->rt), CRT_FOREVER);
    CRT_END;
}
static void a_deadline_set_by_the_poll_that_asks_is_the_next(void)
{
    on_virtual_clock(asks_run, &(timing){.i = 0});
}
// One that only asks, on another thread, makes nobody else lose a deadline.
static int asking;   // atomic
#ifndef _WIN32
static void *asks_thread(void *rt)
{
    while (__atomic_load_n(&asking, __ATOMIC_SEQ_CST)) (void)crt_runtime_next_deadline(rt);
    return NULL;
}
static void who_only_asks_for_the_next_deadline_drives_nothing(void)
{
    crt_runtime *rt;
    pthread_t thread;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt), 0);
    crt_handle *h = crt_runtime_handle(rt);
    for (int i = 0; i < 20; i++) {
        crt_join_handle *join;
        struct pollfd fd = {.fd = (int)crt_runtime_poll_fd(rt), .events = POLLIN};
        CHECK_EQ(crt_handle_spawn_join(h, &join, short_run, &(short_frame){.ms = 5}), 0);
        while (crt_runtime_turn(rt, 0) < 1) {}
        __atomic_store_n(&asking, 1, __ATOMIC_SEQ_CST);
        CHECK_EQ(pthread_create(&thread, NULL, asks_thread, rt), 0);
        crt_duration left = 0;
        for (int n = 0; n < 100000 && left != CRT_FOREVER; n++) left = crt_runtime_next_deadline(rt);
        __atomic_store_n(&asking, 0, __ATOMIC_SEQ_CST);
        pthread_join(thread, NULL);
        // What a loop does that was told so: it waits for the descriptor.
        if (left == CRT_FOREVER) CHECK_EQ(poll(&fd, 1, 2000), 1);
        for (int64_t begun = real_now(); !crt_is_finished(join) && real_now() - begun < CRT_SEC(5); pause_ms(1))
            crt_runtime_turn(rt, 0);
        CHECK_EQ(crt_join_blocking(&join, NULL), 0);
    }
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}
#endif

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST_ON_EACH(sleep_is_never_early);
    TEST_ON_EACH(many_sleepers_all_wake_and_none_early);
    TEST_ON_EACH(nothing_to_wait_for_is_ready_at_once);
    TEST(durations_may_be_fractions);
    TEST(the_virtual_clock_jumps_to_each_deadline);
    TEST(timers_wake_in_the_order_of_their_deadlines);
    TEST(timers_for_the_same_tick_wake_in_the_order_they_were_set);
    TEST_ON_EACH(far_deadlines_do_not_overflow);
    TEST(auto_advance_does_not_run_off_to_forever);
    TEST(a_timer_can_be_set_again);
    TEST(a_timer_awaited_twice_in_the_poll_that_set_it_leaves_others_in_time);
    TEST(nor_does_one_set_to_an_instant_that_is_awaited_turn_by_turn);
    TEST(a_timer_over_in_a_later_poll_is_ready_at_once);
    TEST(nor_does_it_matter_by_which_hand_the_clock_went_on);
    TEST(a_timer_survives_a_lost_select_and_resets);
    TEST(a_reset_while_pending_replaces_the_deadline);
    TEST(a_reset_by_a_sibling_reaches_the_wait);
    TEST(a_wait_that_is_over_at_once_lets_others_run);
    TEST(a_timeout_gives_the_result_or_cancels_to_the_end);
    TEST_ON_EACH(a_timeout_that_races_its_expression_gives_one_of_the_two);
    TEST(an_interval_treats_missed_ticks_as_told);
    TEST(an_interval_is_cancel_safe_and_can_be_reset);
    TEST_ON_EACH(an_interval_is_never_early);
    TEST(the_virtual_clock_needs_a_current_thread_runtime);
    TEST(the_clock_pauses_resumes_and_advances);
    TEST(advance_wakes_what_is_due_and_nothing_else);
    TEST(auto_advance_waits_for_blocking_jobs);
    TEST(advance_from_a_blocking_job_wakes_the_runtime);
    TEST(resume_from_a_blocking_job_sets_timers_going);
    TEST(timers_without_the_driver_say_so);
    TEST(timers_work_without_the_io_driver);
    TEST(timers_of_a_stuck_worker_fire_through_another);
    TEST_ON_EACH(timers_are_cancelled_from_other_workers);
    TEST_ON_EACH(an_earlier_timer_cuts_the_wait_short);
    TEST(a_wait_given_up_inside_a_timeout_is_over);
    TEST(a_timer_that_is_due_when_it_is_set_fires_while_a_job_runs);
    TEST(a_deadline_set_by_the_poll_that_asks_is_the_next);
#ifndef _WIN32
    TEST(who_only_asks_for_the_next_deadline_drives_nothing);
#endif
    return test_end();
}
