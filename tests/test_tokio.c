// Tests of Tokio's own suite that had no counterpart among the tests named after the sections of crt.h.
//
// Held against them (theirs -> ours).
// tokio/tests/coop_budget.rs, rt_unstable_metrics.rs, sync_mpsc.rs:
//   coop_budget -> a_datagram_each_way_costs_budget
//   recv, unbounded_mpsc_channel (coop), coop_unconstrained -> a_full_channel_gives_a_budget_of_messages
//   budget_exhaustion_yield, budget_exhaustion_yield_with_joins -> a_poll_that_runs_out_is_counted_once
//   consume_budget, has_budget_remaining -> test_task.c
// macros_join.rs, macros_try_join.rs: poll_order (join_starve too) -> a_join_begins_one_arm_later_each_time
// rt_common_before_park.rs:
//   before_park_yields, before_park_spawn -> a_hook_before_parking_wakes
//   before_park_does_not_starve_timers -> a_hook_before_parking_starves_no_timer
//   wake_from_other_block_on -> another_block_on_wakes_this_one
// rt_common.rs, rt_threaded.rs:
//   shutdown_concurrent_spawn, wake_during_shutdown -> woken_while_the_runtime_goes
//   wake_from_thread_local -> wakers_outlive_their_runtime
// task_abort.rs, join_handle_panic.rs: test_abort_task_that_panics_on_drop_{contained,returned} -> a_cleanup_panics
// time_interval.rs:
//   burst, delay, skip, reset, reset_at, reset_after, reset_immediately -> intervals
//   interval_doesnt_panic_max_duration_when_polling -> an_interval_without_end
// time_sleep.rs:
//   reset_future_sleep_before_fire, reset_past_sleep_before_fire, reset_future_sleep_after_fire,
//   reset_sleep_to_past, reset_after_firing -> timers_are_set_anew
//   drop_after_reschedule_at_new_scheduled_time -> a_timer_moved_to_anothers_deadline
//   long_sleeps, multi_long_sleeps, greater_than_max, issue_5183 -> years
// time_pause.rs: advance_after_poll, sleep_no_poll, sub_ms_advance, advance_3ms_and_change, exact_1ms_advance,
//   regression_3710_with_submillis_advance, advance_once_with_timer, advance_multi_with_timer -> the_clock_is_advanced
// time_timeout.rs: timeout_is_not_exhausted_by_future -> a_busy_arm_does_not_keep_a_timeout_from_ending
// tokio-util/tests/length_delimited.rs, framed_read.rs:
//   read_*, max_allowed_length_field, read_single_frame_length_adjusted* -> frames
//   *_wait, read_incomplete_*, read_err, read_partial_then_err -> frames_that_keep_one_waiting
//   write_*, encode_overflow, frame_does_not_fit, neg_adjusted_frame_* -> written_frames
// tokio-util/tests/codecs.rs, tokio/tests/io_lines.rs, io_read_line.rs:
//   lines_decoder, lines_decoder_max_length*, lines_decoder_discard_repeat, read_line* -> lines
// tokio/tests/io_copy.rs, io_copy_bidirectional.rs, duplex_stream.rs:
//   immediate_exit_on_*, copy_is_cooperative, duplex_is_cooperative -> copies_let_others_run
//   test_basic_transfer, test_transfer_after_close -> both_ways_and_one_after_the_other_has_ended
//   blocking_one_side_does_not_block_other -> a_full_side_does_not_hold_up_the_other
// net_unix_pipe.rs: fifo_simple_send, fifo_simple_send_sender_first, fifo_multiple_writes, fifo_resilient_reader,
//   -> fifos;  from_file_detects_*, from_file_sets_nonblock -> descriptors_that_are_no_fifo
// io_async_fd.rs: initially_writable, reset_readable, multiple_waiters, reregister -> waits_of_a_bare_descriptor
// tcp_stream.rs, uds_stream.rs: poll_read_ready, poll_write_ready -> readiness (on both)
// signal_realtime.rs: signal_realtime -> all_realtime_signals
// With their own tables elsewhere: task_join_set.rs (test_groups.c), sync_*.rs (test_locks.c, test_notify.c, ...).
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#include "by_hand.h"

#include <pthread.h>
#ifndef _WIN32
#include <sys/socket.h>
#include <sys/stat.h>
#endif

#define SHARED(x) __atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define SET(x, v) __atomic_store_n(&(x), (v), __ATOMIC_SEQ_CST)
#define ADD(x, v) __atomic_fetch_add(&(x), (v), __ATOMIC_SEQ_CST)
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
// Polls by hand in a coroutine: the slots are the frame's, so that a wait may outlast an await.
#define HAND crt_slot *held, *s = self->s; crt_poll got; (void)held; (void)got; (void)s
// Polls by hand until it is ready, for as long as that takes; what it gave is in `got`.
#define UNTIL_READY(...)                                                                   \
    while (AT(s[0], __VA_ARGS__) == PENDING) CRT_AWAIT(self->r = crt_sleep(cx, CRT_MS(1)))

typedef struct scene {
    crt_frame co;
    crt_slot s[6];
    crt_poll r, r2;
    int i, k, n;
    int64_t sum;
    crt_join_handle *join[8];
    intptr_t result;
    CRT_SELECT(3) sel;
    crt_timer timer, timers[3];
    crt_instant begun;
    crt_duration d;
    char buf[64];
} scene;

static crt_runtime *runtime(const crt_config *c)
{
    crt_runtime *rt = NULL;
    CHECK_EQ(crt_runtime_new(c, &rt), 0);
    return rt;
}
static void plays(crt_runtime *rt, crt_fn fn)
{
    scene f = {.i = 0};
    CHECK_EQ(crt_block_on(rt, fn, &f), 0);
}
static void plays_on_a_virtual_clock(crt_fn fn)
{
    crt_runtime *rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD, .start_paused = true});
    plays(rt, fn);
    crt_runtime_drop(&rt);
}
static crt_poll yields_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_YIELD();
    CRT_END;
}

// ---------------------------------------------------------------------------
// budget

static int yields;   // atomic
static crt_poll counts_its_turns_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        ADD(yields, 1);
        CRT_YIELD();
    }
    CRT_END;
}
typedef struct datagrams {
    scene plain;
    crt_udp *a, *b;
    crt_addr at_a, at_b;
} datagrams;
enum { DATAGRAMS = 1024 };
static crt_poll datagrams_run(void *frame, crt_cx *cx)
{
    datagrams *d = frame;
    scene *self = &d->plain;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_udp_bind(cx, "127.0.0.1:0", &d->a));
    CRT_AWAIT(self->r2 = crt_udp_bind(cx, "127.0.0.1:0", &d->b));
    CHECK(self->r == 0 && self->r2 == 0);
    CHECK_EQ(crt_local_addr(d->a, &d->at_a), 0);
    CHECK_EQ(crt_local_addr(d->b, &d->at_b), 0);
    CHECK_EQ(crt_udp_connect(cx, d->a, &d->at_b), 0);
    CHECK_EQ(crt_udp_connect(cx, d->b, &d->at_a), 0);
    CRT_YIELD();
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], counts_its_turns_run, &(scene){.i = 0}), 0);
    for (self->k = 0; self->k < DATAGRAMS; self->k++) {
        CRT_AWAIT(self->r = crt_udp_send(cx, d->a, "Hello, world", 12));
        CHECK_EQ(self->r, 12);
        CRT_AWAIT(self->r = crt_udp_recv(cx, d->b, self->buf, 12));
        CHECK_EQ(self->r, 12);
    }
    CHECK(SHARED(yields) >= 2 * DATAGRAMS / 128 - 1);   // the neighbour had a turn at each budget's end
    crt_abort(self->join[0]);
    CRT_AWAIT(self->r = crt_join(cx, &self->join[0], NULL));
    CRT_FINALLY
        crt_close(&d->a);
        crt_close(&d->b);
    CRT_END;
}
static void a_datagram_each_way_costs_budget(void)
{
    crt_runtime *rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD});
    crt_runtime_metrics m;
    datagrams d = {.a = NULL};
    SET(yields, 0);
    CHECK_EQ(crt_block_on(rt, datagrams_run, &d), 0);
    crt_metrics(rt, &m);
    CHECK(m.budget_forced_yield_count <= 2 * DATAGRAMS / 128 + 1);   // and not more often
    crt_runtime_drop(&rt);
}

// By hand, and what is left of the budget stays as it is.
#define AS_IT_IS(...)                                                                      \
    (held = cx->slot, cx->slot = &s[0], got = (crt_poll)(__VA_ARGS__), cx->slot = held, got)
static crt_poll messages_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    crt_mpsc_tx *tx = NULL;
    crt_mpsc_rx *rx = NULL;
    HAND;
    CRT_BEGIN(self, cx);
    CRT_YIELD();
    CHECK_EQ(crt_mpsc_new(0, 0, &tx, &rx), 0);
    for (int i = 0; i < 1000; i++) CHECK_EQ(crt_mpsc_try_send(tx, NULL), 0);
    int n = 0;
    while (n < 1000 && AS_IT_IS(crt_mpsc_recv(cx, rx, NULL)) == 0) n++;
    CHECK_EQ(n, 128);
    CHECK_EQ(got, PENDING);
    cx->unwind = 1;
    CHECK_EQ(AS_IT_IS(crt_mpsc_recv(cx, rx, NULL)), UNWIND);
    for (int i = 0; i < 1000 - 128; i++) CHECK_EQ(AS_IT_IS(crt_unconstrained(cx, crt_mpsc_recv(cx, rx, NULL))), 0);
    CHECK_EQ(crt_mpsc_try_recv(rx, NULL), CRT_EEMPTY);
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
    CRT_END;
}
static void a_full_channel_gives_a_budget_of_messages(crt_runtime *rt) { plays(rt, messages_run); }

static crt_poll burns_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    if (self->k) return 0;
    while (crt_consume_budget(cx) != CRT_PENDING) {}
    self->k = 1;
    return CRT_PENDING;
}
static crt_poll two_burn_run(void *frame, crt_cx *cx)
{
    static scene arm[2];
    scene *self = frame;
    CRT_BEGIN(self, cx);
    memset(arm, 0, sizeof arm);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->sel, crt_on(cx, 0, burns_run(&arm[0], cx)),
                                     crt_on(cx, 1, burns_run(&arm[1], cx))));
    CRT_END;
}
static void a_poll_that_runs_out_is_counted_once(void)
{
    crt_fn fns[] = {burns_run, two_burn_run};
    for (int i = 0; i < 2; i++) {
        crt_runtime *rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD});
        crt_runtime_metrics m;
        crt_metrics(rt, &m);
        CHECK_EQ(m.budget_forced_yield_count, 0);
        plays(rt, fns[i]);
        crt_metrics(rt, &m);
        CHECK_EQ(m.budget_forced_yield_count, 1);
        crt_runtime_drop(&rt);
    }
}

// ---------------------------------------------------------------------------
// join

static int order[16], orders;   // who was polled when: all in one task
static crt_poll named_run(scene *self, crt_cx *cx, int name)
{
    CRT_BEGIN(self, cx);
    for (self->k = 0; self->k < 4; self->k++) {
        if (orders < COUNT(order)) order[orders++] = name;
        CRT_YIELD();
    }
    CRT_END;
}
static crt_poll join_run(void *frame, crt_cx *cx)
{
    static const int want[] = {1, 2, 3, 2, 3, 1, 3, 1, 2, 1, 2, 3};
    static scene arm[3];
    scene *self = frame;
    CRT_BEGIN(self, cx);
    memset(arm, 0, sizeof arm);
    orders = 0;
    if (self->i)
        CRT_AWAIT(self->r = crt_try_join(cx, &self->sel, crt_on(cx, 0, named_run(&arm[0], cx, 1)),
                                         crt_on(cx, 1, named_run(&arm[1], cx, 2)),
                                         crt_on(cx, 2, named_run(&arm[2], cx, 3))));
    else
        CRT_AWAIT(self->r = crt_join_all(cx, &self->sel, crt_on(cx, 0, named_run(&arm[0], cx, 1)),
                                         crt_on(cx, 1, named_run(&arm[1], cx, 2)),
                                         crt_on(cx, 2, named_run(&arm[2], cx, 3))));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(orders, COUNT(want));
    for (int i = 0; i < COUNT(want); i++) CHECK_EQ(order[i], want[i]);
    CRT_END;
}
static void a_join_begins_one_arm_later_each_time(crt_runtime *rt)
{
    for (int i = 0; i < 2; i++) {
        scene f = {.i = i};
        CHECK_EQ(crt_block_on(rt, join_run, &f), 0);
    }
}

// ---------------------------------------------------------------------------
// threads that park, runtimes that go

static crt_notify told;
static int once, waits;   // atomic
static crt_poll tells_run(void *frame, crt_cx *cx)
{
    (void)frame;
    (void)cx;
    crt_notify_one(&told);
    return 0;
}
static crt_poll is_told_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    SET(waits, 1);
    for (self->k = 0; self->k < (self->i ? self->i : 1); self->k++) {
        CRT_AWAIT(self->r = crt_notified(cx, &told));
        CHECK_EQ(self->r, 0);
    }
    CRT_END;
}
static void tells_once(void *unused)
{
    (void)unused;
    if (!__atomic_exchange_n(&once, 1, __ATOMIC_SEQ_CST)) crt_notify_one(&told);
}
static void spawns_once(void *unused)
{
    (void)unused;
    if (__atomic_exchange_n(&once, 1, __ATOMIC_SEQ_CST)) return;
    crt_handle *h = crt_handle_current();
    CHECK(h != NULL);
    CHECK_EQ(crt_handle_spawn(h, tells_run, &(scene){.i = 0}), 0);
    crt_handle_drop(&h);
}
// What the thread does just before it sleeps is seen before it sleeps.
static void a_hook_before_parking_wakes(void)
{
    for (int i = 0; i < 4; i++) {
        memset(&told, 0, sizeof told);
        SET(once, 0);
        crt_runtime *rt = runtime(&(crt_config){.flavor = i & 1 ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD,
                                                .worker_threads = 1, .on_thread_park = i & 2 ? spawns_once : tells_once});
        plays(rt, is_told_run);
        CHECK(SHARED(once));
        crt_runtime_drop(&rt);
    }
}
static void tells_always(void *unused)
{
    (void)unused;
    crt_notify_waiters(&told);
}
static int timer_rang;   // atomic
static crt_poll rings_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_sleep(cx, CRT_MS(1)));
    SET(timer_rang, 1);
    CRT_END;
}
static void a_hook_before_parking_starves_no_timer(void)
{
    memset(&told, 0, sizeof told);
    SET(timer_rang, 0);
    crt_runtime *rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD, .on_thread_park = tells_always});
    crt_handle *h = crt_runtime_handle(rt);
    CHECK_EQ(crt_handle_spawn(h, rings_run, &(scene){.i = 0}), 0);
    crt_handle_drop(&h);
    plays(rt, yields_run);   // the timer is set
    for (int i = 0; i < 10000 && !SHARED(timer_rang); i++) {
        plays(rt, is_told_run);   // never sleeps: the hook has told it before
        test_pause_us(200);
    }
    CHECK(SHARED(timer_rang));
    crt_runtime_drop(&rt);
}
static void *tells_from_a_thread(void *handle)
{
    scene f = {.i = 0};
    while (!SHARED(waits)) test_pause_us(200);
    for (int i = 0; i < 2; i++) {
        test_pause_us(2000);   // it sleeps
        CHECK_EQ(crt_handle_block_on(handle, tells_run, &f), 0);
    }
    return NULL;
}
static void another_block_on_wakes_this_one(crt_runtime *rt)
{
    pthread_t thread;
    crt_handle *h = crt_runtime_handle(rt);
    memset(&told, 0, sizeof told);
    SET(waits, 0);
    CHECK_EQ(pthread_create(&thread, NULL, tells_from_a_thread, h), 0);
    scene twice = {.i = 2};   // the first block_on has returned, with this one still going on, before the second comes
    CHECK_EQ(crt_block_on(rt, is_told_run, &twice), 0);
    pthread_join(thread, NULL);
    crt_handle_drop(&h);
}

enum { HEARERS = 1000 };
static crt_oneshot_tx *speakers[HEARERS];
static int thread_speaks;   // atomic
typedef struct hearer {
    crt_frame co;
    crt_oneshot_rx *rx;
    crt_poll r;
} hearer;
static crt_poll hears_run(void *frame, crt_cx *cx)
{
    hearer *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_oneshot_recv(cx, &self->rx, NULL));
    CRT_FINALLY
        crt_oneshot_rx_drop(&self->rx);
    CRT_END;
}
static void *speaks(void *unused)
{
    (void)unused;
    SET(thread_speaks, 1);
    for (int i = 0; i < HEARERS; i++) crt_oneshot_send(&speakers[i], NULL);
    return NULL;
}
static void woken_while_the_runtime_goes(void)
{
    for (int round = 0; round < 6; round++) {
        pthread_t thread;
        crt_runtime *rt = runtime(&(crt_config){.flavor = round & 1 ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD,
                                                .allocator = TEST_COUNTED, .log = {test_log, NULL, 0}});
        crt_handle *h = crt_runtime_handle(rt);
        for (int i = 0; i < HEARERS; i++) {
            hearer one = {.rx = NULL};
            CHECK_EQ(crt_oneshot_new(0, &speakers[i], &one.rx), 0);
            CHECK_EQ(crt_handle_spawn(h, hears_run, &one), 0);
        }
        plays(rt, yields_run);
        SET(thread_speaks, 0);
        CHECK_EQ(pthread_create(&thread, NULL, speaks, NULL), 0);
        while (!SHARED(thread_speaks)) {}
        crt_runtime_drop(&rt);
        CHECK(!rt);
        pthread_join(thread, NULL);
        crt_handle_drop(&h);
        test_all_freed();
    }
}

static crt_waker kept[2];
static crt_poll keeps_wakers_run(void *frame, crt_cx *cx)
{
    (void)frame;
    for (int i = 0; i < 2; i++) kept[i] = crt_waker_clone(cx);
    return 0;
}
static crt_poll spawns_a_keeper_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], keeps_wakers_run, &(scene){.i = 0}), 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->join[0], NULL));
    CHECK_EQ(self->r, 0);
    CRT_END;
}
static void wakers_outlive_their_runtime(void)
{
    for (int flavor = 0; flavor < 2; flavor++) {
        crt_runtime *rt = runtime(&(crt_config){.flavor = flavor, .allocator = TEST_COUNTED});
        plays(rt, spawns_a_keeper_run);
        crt_runtime_drop(&rt);
        CHECK(!rt);
        crt_wake_by_ref(&kept[0]);
        crt_waker_drop(&kept[0]);
        crt_wake(&kept[1]);
        test_all_freed();
    }
}

static int in_the_body, in_the_cleanup;   // atomic
static crt_poll ends_badly_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    ADD(in_the_body, 1);
    CRT_AWAIT(self->r = crt_sleep(cx, CRT_FOREVER));
    CRT_FINALLY
        ADD(in_the_cleanup, 1);
        CRT_PANIC(cx, "Well what did you expect %d", 1);
    CRT_END;
}
static crt_poll aborts_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    SET(in_the_body, 0);
    SET(in_the_cleanup, 0);
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], ends_badly_run, &(scene){.i = 0}), 0);
    while (SHARED(in_the_body) < 1) CRT_YIELD();
    crt_abort(self->join[0]);
    crt_detach(&self->join[0]);   // nobody asks how it ended
    while (SHARED(in_the_cleanup) < 1) CRT_YIELD();
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], ends_badly_run, &(scene){.i = 0}), 0);
    while (SHARED(in_the_body) < 2) CRT_YIELD();
    crt_abort(self->join[0]);
    CRT_AWAIT(self->r = crt_join(cx, &self->join[0], NULL));
    CHECK_EQ(self->r, CRT_EPANIC);
    CHECK(self->join[0] && strstr(crt_join_panic_message(self->join[0]), "Well what did you expect 1"));
    crt_detach(&self->join[0]);
    CRT_END;
}
static void a_cleanup_panics(crt_runtime *rt) { plays(rt, aborts_run); }

// ---------------------------------------------------------------------------
// time, on a virtual clock

// The clock goes on, and the due timers are seen.
#define LATER(d)                                                                           \
    do {                                                                                   \
        CHECK_EQ(crt_time_advance(cx->rt, (d)), 0);                                        \
        CRT_YIELD();                                                                       \
    } while (0)

// After so many ms these ticks come, and none besides. Then the interval may be set anew.
typedef struct beat {
    int after, ticks, due[2];
    int then;   // RESET, or when the next is due, from now on
} beat;
enum { RESET = -1 };
typedef struct beats {
    scene plain;
    crt_interval every;
    crt_missed behavior;
    const beat *beat;
    int n;
} beats;
static crt_poll beats_run(void *frame, crt_cx *cx)
{
    beats *b = frame;
    scene *self = &b->plain;
    const beat *now;
    HAND;
    CRT_BEGIN(self, cx);
    crt_interval_init(&b->every, CRT_MS(300), b->behavior);
    self->begun = crt_now(cx);
    for (self->k = 0; self->k < b->n; self->k++) {
        LATER(CRT_MS(b->beat[self->k].after));
        now = &b->beat[self->k];
        for (int i = 0; i < now->ticks; i++) {
            if (b->every.started) CHECK_EQ(b->every.next - self->begun, CRT_MS(now->due[i]));
            CHECK_EQ(AT(s[0], crt_interval_tick(cx, &b->every)), 0);
        }
        CHECK_EQ(AT(s[0], crt_interval_tick(cx, &b->every)), PENDING);
        if (now->then == RESET) crt_interval_reset(cx, &b->every);
        if (now->then > 0) b->every.next = crt_now(cx) + CRT_MS(now->then);
    }
    CHECK_EQ(CANCEL(s[0], crt_interval_tick(cx, &b->every)), UNWIND);
    CRT_END;
}
static void interval(crt_missed behavior, const beat *list, int n)
{
    crt_runtime *rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD, .start_paused = true});
    beats b = {.behavior = behavior, .beat = list, .n = n};
    CHECK_EQ(crt_block_on(rt, beats_run, &b), 0);
    crt_runtime_drop(&rt);
}
static void intervals(void)
{
    static const beat burst[] = {{0, 1, {0}, 0}, {100, 0, {0}, 0}, {200, 1, {300}, 0}, {650, 2, {600, 900}, 0},
                                 {200, 0, {0}, 0}, {100, 1, {1200}, 0}, {250, 1, {1500}, 0}, {300, 1, {1800}, 0}};
    static const beat delay[] = {{0, 1, {0}, 0}, {100, 0, {0}, 0}, {200, 1, {300}, 0}, {650, 1, {600}, 0},
                                 {100, 0, {0}, 0}, {200, 1, {1250}, 0}, {300, 1, {1550}, 0}, {300, 1, {1850}, 0}};
    static const beat skip[] = {{0, 1, {0}, 0}, {100, 0, {0}, 0}, {200, 1, {300}, 0}, {650, 1, {600}, 0},
                                {250, 1, {1200}, 0}, {300, 1, {1500}, 0}, {300, 1, {1800}, 0}};
    static const beat reset[] = {{0, 1, {0}, 0}, {100, 0, {0}, 0}, {200, 1, {300}, 0}, {100, 0, {0}, RESET},
                                 {250, 0, {0}, 0}, {50, 1, {700}, 0}, {300, 1, {1000}, 0}};
    static const beat reset_at[] = {{0, 1, {0}, 0}, {100, 0, {0}, 0}, {200, 1, {300}, 0}, {100, 0, {0}, 40},
                                    {40, 1, {440}, 0}, {100, 0, {0}, 0}, {200, 1, {740}, 1000}, {300, 0, {0}, 0},
                                    {300, 0, {0}, 0}, {300, 0, {0}, 0}, {100, 1, {1740}, 0}};
    interval(CRT_BURST, burst, COUNT(burst));
    interval(CRT_DELAY, delay, COUNT(delay));
    interval(CRT_SKIP, skip, COUNT(skip));
    interval(CRT_BURST, reset, COUNT(reset));
    interval(CRT_BURST, reset_at, COUNT(reset_at));
}
static crt_poll endless_run(void *frame, crt_cx *cx)
{
    static crt_interval every;
    scene *self = frame;
    HAND;
    CRT_BEGIN(self, cx);
    crt_interval_init(&every, CRT_FOREVER - 1, CRT_DELAY);
    CRT_AWAIT(self->r = crt_interval_tick(cx, &every));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(AT(s[0], crt_interval_tick(cx, &every)), PENDING);
    LATER(CRT_SEC(86400));
    CHECK_EQ(AT(s[0], crt_interval_tick(cx, &every)), PENDING);
    crt_interval_reset(cx, &every);
    CHECK_EQ(AT(s[0], crt_interval_tick(cx, &every)), PENDING);
    CHECK_EQ(CANCEL(s[0], crt_interval_tick(cx, &every)), UNWIND);
    CRT_END;
}
static void an_interval_without_end(void) { plays_on_a_virtual_clock(endless_run); }

// To the tick: timers are kept in milliseconds, rounded up.
static void is_now(scene *self, crt_cx *cx, crt_duration d)
{
    CHECK(crt_now(cx) - self->begun >= d && crt_now(cx) - self->begun <= d + CRT_MS(1));
}
static crt_poll set_anew_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    HAND;
    CRT_BEGIN(self, cx);
    // Later, while it is awaited.
    self->begun = crt_now(cx);
    crt_timer_reset_at(cx, &self->timer, self->begun + CRT_MS(100));
    CHECK_EQ(AT(s[0], crt_timer_wait(cx, &self->timer)), PENDING);
    crt_timer_reset_at(cx, &self->timer, self->begun + CRT_MS(200));
    CHECK_EQ(AT(s[0], crt_timer_wait(cx, &self->timer)), PENDING);
    CHECK_EQ(CANCEL(s[0], crt_timer_wait(cx, &self->timer)), UNWIND);
    CRT_AWAIT(self->r = crt_timer_wait(cx, &self->timer));
    is_now(self, cx, CRT_MS(200));
    // Earlier, after a wait that was cancelled.
    self->begun = crt_now(cx);
    crt_timer_reset_at(cx, &self->timer, self->begun + CRT_MS(100));
    CHECK_EQ(AT(s[0], crt_timer_wait(cx, &self->timer)), PENDING);
    CHECK_EQ(CANCEL(s[0], crt_timer_wait(cx, &self->timer)), UNWIND);
    CRT_AWAIT(self->r = crt_sleep(cx, CRT_MS(10)));
    crt_timer_reset_at(cx, &self->timer, self->begun + CRT_MS(80));
    CRT_AWAIT(self->r = crt_timer_wait(cx, &self->timer));
    is_now(self, cx, CRT_MS(80));
    // It stays ready, until it is set again.
    CRT_AWAIT(self->r = crt_timer_wait(cx, &self->timer));
    is_now(self, cx, CRT_MS(80));
    crt_timer_reset_at(cx, &self->timer, self->begun + CRT_MS(110));
    CRT_AWAIT(self->r = crt_timer_wait(cx, &self->timer));
    is_now(self, cx, CRT_MS(110));
    // Into the past, while it is awaited.
    self->begun = crt_now(cx);
    crt_timer_reset_at(cx, &self->timer, self->begun + CRT_MS(100));
    CHECK_EQ(AT(s[0], crt_timer_wait(cx, &self->timer)), PENDING);
    LATER(CRT_MS(50));
    crt_timer_reset_at(cx, &self->timer, self->begun + CRT_MS(40));
    CHECK_EQ(AT(s[0], crt_timer_wait(cx, &self->timer)), 0);
    // Far away, after it has fired.
    crt_timer_reset(cx, &self->timer, CRT_SEC(600));
    for (int i = 0; i < 2; i++) CHECK_EQ(AT(s[0], crt_timer_wait(cx, &self->timer)), PENDING);
    CHECK_EQ(CANCEL(s[0], crt_timer_wait(cx, &self->timer)), UNWIND);
    crt_timer_stop(&self->timer);
    CRT_END;
}
static void timers_are_set_anew(void) { plays_on_a_virtual_clock(set_anew_run); }

// Of two at one deadline, one goes to a third's; both there are left before they fire.
static crt_poll moved_run(void *frame, crt_cx *cx)
{
    static const int ms[] = {5, 5, 10};
    scene *self = frame;
    HAND;
    CRT_BEGIN(self, cx);
    self->begun = crt_now(cx);
    for (int i = 0; i < 3; i++) {
        crt_timer_reset(cx, &self->timers[i], CRT_MS(ms[i]));
        CHECK_EQ(AT(s[i], crt_timer_wait(cx, &self->timers[i])), PENDING);
    }
    crt_timer_reset_at(cx, &self->timers[1], self->begun + CRT_MS(10));
    LATER(CRT_MS(5));
    CHECK_EQ(AT(s[0], crt_timer_wait(cx, &self->timers[0])), 0);
    for (int i = 1; i < 3; i++) CHECK_EQ(AT(s[i], crt_timer_wait(cx, &self->timers[i])), PENDING);
    for (int i = 1; i < 3; i++) CHECK_EQ(CANCEL(s[i], crt_timer_wait(cx, &self->timers[i])), UNWIND);
    CRT_END;
}
static void a_timer_moved_to_anothers_deadline(void) { plays_on_a_virtual_clock(moved_run); }

#define YEARS(n) CRT_SEC((n) * 365LL * 86400)
static crt_poll years_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    for (self->k = 1; self->k <= 10; self->k += 3) {
        self->begun = crt_now(cx);
        CRT_AWAIT(self->r = crt_sleep_until(cx, self->begun + YEARS(self->k)));
        CHECK_EQ(self->r, 0);
        is_now(self, cx, YEARS(self->k));
    }
    // One that is far beyond the wheel does not keep a near one from ending.
    for (self->k = 0; self->k < 2; self->k++) {
        self->d = self->k ? CRT_FOREVER - 1 : CRT_FOREVER / 10 * 9;
        CRT_AWAIT(self->r = crt_select_biased(cx, &self->sel, crt_on(cx, 0, crt_sleep(cx, self->d)),
                                              crt_on(cx, 1, crt_sleep(cx, 1))));
        CHECK_EQ(self->r, 1);
    }
    CRT_END;
}
static void years(void) { plays_on_a_virtual_clock(years_run); }

static crt_poll advanced_run(void *frame, crt_cx *cx)
{
    static const crt_duration steps[] = {CRT_US(51592), CRT_US(1), CRT_US(3141592), CRT_US(3123456),
                                          CRT_MS(1), CRT_MS(1)};
    scene *self = frame;
    HAND;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_sleep(cx, CRT_MS(1)));
    // By exactly what was said, beside a sleep and without one.
    for (self->i = 0; self->i < 2; self->i++) {
        crt_timer_reset(cx, &self->timer, CRT_SEC(60));
        if (self->i) CHECK_EQ(AT(s[0], crt_timer_wait(cx, &self->timer)), PENDING);
        for (self->k = 0; self->k < COUNT(steps); self->k++) {
            self->begun = crt_now(cx);
            LATER(steps[self->k]);
            CHECK_EQ(crt_now(cx) - self->begun, steps[self->k]);
        }
        CHECK_EQ(AT(s[0], crt_timer_wait(cx, &self->timer)), PENDING);
        CHECK_EQ(CANCEL(s[0], crt_timer_wait(cx, &self->timer)), UNWIND);
    }
    // In parts of a millisecond: not early, and due when they add up. From a whole tick, as a new clock stands.
    LATER(CRT_MS(1) - crt_now(cx) % CRT_MS(1));
    crt_timer_reset(cx, &self->timer, CRT_MS(1));
    CHECK_EQ(AT(s[0], crt_timer_wait(cx, &self->timer)), PENDING);
    for (self->k = 0; self->k < 3; self->k++) {
        LATER(CRT_US(250));
        CHECK_EQ(AT(s[0], crt_timer_wait(cx, &self->timer)), PENDING);
    }
    LATER(CRT_US(1250));
    CHECK_EQ(AT(s[0], crt_timer_wait(cx, &self->timer)), 0);
    CRT_END;
}
static void the_clock_is_advanced(void) { plays_on_a_virtual_clock(advanced_run); }

// ---------------------------------------------------------------------------
// arms that are never done

static crt_poll spends_run(scene *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    for (;;) CRT_AWAIT(self->r = crt_consume_budget(cx));
    CRT_END;
}
typedef struct busy {
    scene plain, arm;
    crt_stream *a, *b, *c, *d;
    crt_copier copier;
    crt_copier_pair pair;
    char page[4096];
} busy;
static void close_all(busy *b)
{
    crt_close(&b->a);
    crt_close(&b->b);
    crt_close(&b->c);
    crt_close(&b->d);
}
// A stream at its end: each read gives 0 at once.
static crt_poll reads_nothing_run(busy *b, crt_cx *cx)
{
    scene *self = &b->arm;
    CRT_BEGIN(self, cx);
    for (;;) CRT_AWAIT(self->r = crt_read(cx, b->a, self->buf, 1));
    CRT_END;
}
static crt_poll not_kept_run(void *frame, crt_cx *cx)
{
    busy *b = frame;
    scene *self = &b->plain;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(1), spends_run(&b->arm, cx)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CRT_AWAIT(self->r = crt_select_biased(cx, &self->sel, crt_on(cx, 0, crt_sleep(cx, CRT_MS(1))),
                                          crt_on(cx, 1, spends_run(&b->arm, cx))));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_duplex(cx, 8, &b->a, &b->b), 0);
    crt_close(&b->b);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(1), reads_nothing_run(b, cx)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CRT_FINALLY
        close_all(b);
    CRT_END;
}
static void a_busy_arm_does_not_keep_a_timeout_from_ending(crt_runtime *rt)
{
    busy b = {.a = NULL};
    CHECK_EQ(crt_block_on(rt, not_kept_run, &b), 0);
}

#define D(text) crt_mock_read((text), sizeof(text) - 1)
static crt_poll copies_run(busy *b, crt_cx *cx)
{
    static const crt_mock_step said[] = {D("hello")};
    scene *self = &b->arm;
    CRT_BEGIN(self, cx);
    for (;;) {
        CHECK_EQ(crt_mock_new(cx, NULL, said, 1, &b->a), 0);
        CHECK_EQ(crt_duplex(cx, 64, &b->c, &b->d), 0);
        CRT_AWAIT(self->r = crt_copy(cx, &b->copier, b->a, b->c));
        close_all(b);
    }
    CRT_FINALLY
        close_all(b);
    CRT_END;
}
static crt_poll copies_both_ways_run(busy *b, crt_cx *cx)
{
    static const crt_mock_step said[] = {D("here, take this"), crt_mock_write("here, take this", 15)};
    scene *self = &b->arm;
    CRT_BEGIN(self, cx);
    for (;;) {
        CHECK_EQ(crt_mock_new(cx, NULL, said, 2, &b->a), 0);
        CHECK_EQ(crt_mock_new(cx, NULL, said, 2, &b->b), 0);
        CRT_AWAIT(self->r = crt_copy_bidirectional(cx, &b->pair, b->a, b->b));
        close_all(b);
    }
    CRT_FINALLY
        close_all(b);
    CRT_END;
}
static crt_poll writes_and_reads_run(busy *b, crt_cx *cx)
{
    scene *self = &b->arm;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 2 * sizeof b->page, &b->a, &b->b), 0);
    for (;;) {
        CRT_AWAIT(self->r = crt_write_all(cx, b->a, b->page, sizeof b->page));
        CRT_AWAIT(self->r = crt_read(cx, b->b, b->page, sizeof b->page));
    }
    CRT_FINALLY
        close_all(b);
    CRT_END;
}
static crt_poll neighbour_run(void *frame, crt_cx *cx)
{
    static crt_poll (*const arms[])(busy *, crt_cx *) = {copies_run, copies_both_ways_run, writes_and_reads_run};
    busy *b = frame;
    scene *self = &b->plain;
    CRT_BEGIN(self, cx);
    for (self->k = 0; self->k < COUNT(arms); self->k++) {
        CRT_AWAIT(self->r = crt_select_biased(cx, &self->sel, crt_on(cx, 0, arms[self->k](b, cx)),
                                              crt_on(cx, 1, crt_yield_now(cx))));
        CHECK_EQ(self->r, 1);
        CHECK(!b->a && !b->b && !b->c && !b->d);   // its cleanup ran
        memset(&b->arm, 0, sizeof b->arm);
    }
    CRT_END;
}
static void copies_let_others_run(crt_runtime *rt)
{
    static busy b;
    memset(&b, 0, sizeof b);
    CHECK_EQ(crt_block_on(rt, neighbour_run, &b), 0);
}

// ---------------------------------------------------------------------------
// frames and lines, however their bytes arrive

typedef struct bytes {
    const char *p;
    size_t n;
} bytes;
#define BYTES(text) {(text), sizeof(text) - 1}
enum { PIECES = 6 };
// A reader over a stream that says these pieces, one at a time, up to the first empty one.
static crt_stream *saying(crt_cx *cx, const bytes *piece, crt_reader *r)
{
    crt_stream *s = NULL;
    crt_mock_step steps[PIECES];
    size_t n = 0;
    for (; n < PIECES && piece[n].n; n++) steps[n] = (crt_mock_step)crt_mock_read(piece[n].p, piece[n].n);
    CHECK_EQ(crt_mock_new(cx, NULL, steps, n, &s), 0);
    crt_reader_init(r, s, NULL, 0);
    return s;
}
typedef struct framing {
    crt_framed f;
    bytes in[PIECES], out[3];
    crt_poll end;   // what comes after those, each time
} framing;
static const framing framings[] = {
    {{0}, {BYTES("\0\0\0\x09" "abcdefghi")}, {BYTES("abcdefghi")}, CRT_ECLOSED},
    {{.little_endian = true}, {BYTES("\x09\0\0\0" "abcdefghi")}, {BYTES("abcdefghi")}, CRT_ECLOSED},
    {{0}, {BYTES("\0\0\0\x09" "abcdefghi\0\0\0\x03" "123\0\0\0\x0b" "hello world")},
     {BYTES("abcdefghi"), BYTES("123"), BYTES("hello world")}, CRT_ECLOSED},
    {{0}, {BYTES("\0\0"), BYTES("\0\x09" "abc"), BYTES("defghi"), BYTES("\0\0\0\x03" "12"),
           BYTES("3\0\0\0\x0b" "hello world")},
     {BYTES("abcdefghi"), BYTES("123"), BYTES("hello world")}, CRT_ECLOSED},
    {{0}, {BYTES("\0\0")}, {{0}}, CRT_EEOF},
    {{0}, {BYTES("\0\0\0\x09" "abcd")}, {{0}}, CRT_EEOF},
    {{.max_frame_length = 5}, {BYTES("\0\0\0\x09" "abcdefghi")}, {{0}}, CRT_EMSGSIZE},
    {{.length_field_length = 1}, {BYTES("\x09" "abcdefghi")}, {BYTES("abcdefghi")}, CRT_ECLOSED},
    {{.length_field_length = 2, .length_field_offset = 4},
     {BYTES("zzzz\0\x09" "abcdefghi")}, {BYTES("abcdefghi")}, CRT_ECLOSED},
    {{.length_field_length = 2, .length_field_offset = 2, .num_skip = CRT_FRAMED_KEEP, .length_adjustment = 4},
     {BYTES("xx\0\x09" "abcdefghiyy\0\x03" "123zz\0\x0b" "hello world")},
     {BYTES("xx\0\x09" "abcdefghi"), BYTES("yy\0\x03" "123"), BYTES("zz\0\x0b" "hello world")}, CRT_ECLOSED},
    {{.length_field_length = 3, .num_skip = 4},
     {BYTES("\0\0\x0b\x0c" "Hello world")}, {BYTES("Hello world")}, CRT_ECLOSED},
    {{.length_field_length = 2, .length_adjustment = -2}, {BYTES("\0\x0b" "abcdefghi\0\x05" "123\0\x0d" "hello world")},
     {BYTES("abcdefghi"), BYTES("123"), BYTES("hello world")}, CRT_ECLOSED},
    {{.length_field_length = 2, .length_adjustment = -3}, {BYTES("\0\x01xx")}, {{0}}, CRT_EPROTO},
    {{.length_field_length = 8, .max_frame_length = SIZE_MAX},
     {BYTES("\0\0\0\0\0\0\0\x03" "abc\xff\xff\xff\xff\xff\xff\xff\xff")}, {BYTES("abc")}, CRT_EMSGSIZE},
};
BODY(frames)
{
    for (int i = 0; i < COUNT(framings); i++) {
        POLLS;
        const framing *f = &framings[i];
        void *frame = NULL;
        crt_reader r;
        crt_stream *stream = saying(cx, f->in, &r);
        for (int k = 0; k < COUNT(f->out) && f->out[k].p; k++) {
            CHECK_EQ(AT(s[0], crt_framed_read(cx, &r, &f->f, &frame)), f->out[k].n);
            CHECK(got == (crt_poll)f->out[k].n && !memcmp(frame, f->out[k].p, f->out[k].n));
        }
        for (int k = 0; k < 2; k++) CHECK_EQ(AT(s[0], crt_framed_read(cx, &r, &f->f, &frame)), f->end);
        crt_reader_drop(&r);
        crt_close(&stream);
    }
}

// After each wait the next piece; a frame is given as soon as it is whole, and what follows an error is not lost.
typedef struct waiting {
    scene plain;
    crt_stream *stream;
    crt_reader r;
    void *frame;
} waiting;
#define LATER_ON crt_mock_wait(CRT_MS(1))
static crt_poll waiting_run(void *frame, crt_cx *cx)
{
    static const crt_mock_step said[] = {
        D("\0\0"), LATER_ON, D("\0\x09" "abc"), LATER_ON, D("defghi"), LATER_ON, D("\0\0\0\x03" "12"), LATER_ON,
        D("3\0\0\0\x0bhello world"), LATER_ON, D("\0\0\0\4ab"), LATER_ON, crt_mock_read_error(CRT_ECONNRESET), D("cd"),
        LATER_ON, D("\0"), LATER_ON};
    static const struct { crt_poll r; const char *text; } want[] = {
        {PENDING, NULL}, {PENDING, NULL}, {9, "abcdefghi"}, {PENDING, NULL}, {PENDING, NULL}, {3, "123"},
        {11, "hello world"}, {PENDING, NULL}, {PENDING, NULL}, {CRT_ECONNRESET, NULL}, {4, "abcd"},
        {PENDING, NULL}, {PENDING, NULL}, {CRT_EEOF, NULL}};
    waiting *w = frame;
    scene *self = &w->plain;
    HAND;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_mock_new(cx, NULL, said, COUNT(said), &w->stream), 0);
    crt_reader_init(&w->r, w->stream, NULL, 0);
    for (self->k = 0; self->k < COUNT(want); self->k++) {
        CHECK_EQ(AT(s[0], crt_framed_read(cx, &w->r, NULL, &w->frame)), want[self->k].r);
        if (want[self->k].text) CHECK(!memcmp(w->frame, want[self->k].text, strlen(want[self->k].text)));
        if (got == PENDING) CRT_AWAIT(self->r = crt_sleep(cx, CRT_MS(5)));
    }
    CRT_FINALLY
        crt_reader_drop(&w->r);
        crt_close(&w->stream);
    CRT_END;
}
static void frames_that_keep_one_waiting(void)
{
    crt_runtime *rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD, .start_paused = true});
    waiting w = {.frame = NULL};
    CHECK_EQ(crt_block_on(rt, waiting_run, &w), 0);
    crt_runtime_drop(&rt);
}

// Writes one frame of n bytes. `want` are the first bytes that arrive, in all `bytes` more than the frame has.
static void writes(crt_cx *cx, crt_framed f, size_t n, crt_poll result, bytes want)
{
    POLLS;
    static char data[300], back[600];
    crt_stream *a, *b;
    crt_writer w;
    memset(data, 'x', sizeof data);
    CHECK_EQ(crt_duplex(cx, sizeof back, &a, &b), 0);
    crt_writer_init(&w, a, NULL, 0);
    CHECK_EQ(AT(s[0], crt_framed_write(cx, &w, &f, data, n)), result);
    CHECK_EQ(AT(s[0], crt_writer_flush(cx, &w)), 0);
    crt_poll all = crt_try_read(b, back, sizeof back);
    CHECK_EQ(all, result < 0 ? CRT_EAGAIN : (crt_poll)(want.n + n));
    if (all > 0) CHECK(!memcmp(back, want.p, want.n) && !memcmp(back + want.n, data, n));
    crt_writer_drop(&w);
    crt_close(&a);
    crt_close(&b);
}
static void written_frames_of(crt_cx *cx)
{
    const bytes none = {NULL, 0};
    writes(cx, (crt_framed){0}, 9, 9, (bytes)BYTES("\0\0\0\x09"));
    writes(cx, (crt_framed){0}, 0, 0, (bytes)BYTES("\0\0\0\0"));
    writes(cx, (crt_framed){.length_adjustment = -2}, 9, 9, (bytes)BYTES("\0\0\0\x0b"));
    writes(cx, (crt_framed){.little_endian = true}, 9, 9, (bytes)BYTES("\x09\0\0\0"));
    writes(cx, (crt_framed){.length_field_length = 1}, 9, 9, (bytes)BYTES("\x09"));
    writes(cx, (crt_framed){.max_frame_length = 5}, 5, 5, (bytes)BYTES("\0\0\0\x05"));
    writes(cx, (crt_framed){.max_frame_length = 5}, 6, CRT_EMSGSIZE, none);
    // What the field cannot say: nothing is written.
    writes(cx, (crt_framed){.length_field_length = 1}, 255, 255, (bytes)BYTES("\xff"));
    writes(cx, (crt_framed){.length_field_length = 1}, 256, CRT_EINVAL, none);
    writes(cx, (crt_framed){.length_field_length = 1, .length_adjustment = -1}, 255, CRT_EINVAL, none);
    writes(cx, (crt_framed){.length_field_length = 1, .length_adjustment = 1}, 0, CRT_EINVAL, none);
    writes(cx, (crt_framed){.length_field_length = 1, .length_adjustment = 1}, 256, 256, (bytes)BYTES("\xff"));
    writes(cx, (crt_framed){.length_field_length = 1, .length_adjustment = 1}, 257, CRT_EINVAL, none);
}
BODY(written_frames) { written_frames_of(cx); }

// A line that is too long says so, each time, until it is skipped.
typedef struct lining {
    size_t max;
    bytes in[PIECES];
    struct { const char *line; crt_poll error, skipped; } out[7];
} lining;
#define LINE(text) {(text), 0, 0}
#define TOO_LONG {NULL, CRT_EMSGSIZE, 0}
#define ENDS {NULL, CRT_ECLOSED, 0}
static const lining linings[] = {
    {0, {BYTES("line 1\nline 2\r\nline 3\n\r\n\rk")},
     {LINE("line 1"), LINE("line 2"), LINE("line 3"), LINE(""), LINE("\rk"), ENDS, ENDS}},
    {0, {BYTES("Hello Wor"), BYTES("ld\nFizzBuz"), BYTES("z\n1\n2")},
     {LINE("Hello World"), LINE("FizzBuzz"), LINE("1"), LINE("2"), ENDS}},
    {0, {BYTES("hello\r"), BYTES("\nworld\n\n")}, {LINE("hello"), LINE("world"), LINE(""), ENDS}},
    {7, {BYTES("line 1 is too long\nline 2\nline 3\r\nline 4\n\r\n\rk")},
     {TOO_LONG, LINE("line 2"), TOO_LONG, LINE("line 4"), LINE(""), LINE("\rk"), ENDS}},
    {7, {BYTES("line "), BYTES("too l"), BYTES("ong\n"), BYTES("line 2"), BYTES("\n")},
     {TOO_LONG, LINE("line 2"), ENDS}},
    {11, {BYTES("line "), BYTES("too l"), BYTES("ong\n")}, {TOO_LONG, ENDS}},
    {6, {BYTES("hello"), BYTES("\nworld")}, {LINE("hello"), LINE("world"), ENDS}},
    {2, {BYTES("aa"), BYTES("a")}, {{NULL, CRT_EMSGSIZE, CRT_ECLOSED}, ENDS}},
    {12, {BYTES("line "), BYTES("too very l"), BYTES("aaaaaaaaaaaaaaaaaaaaaaa"), BYTES("ong\nshort\n")},
     {TOO_LONG, LINE("short"), ENDS}},
};
BODY(lines)
{
    for (int i = 0; i < COUNT(linings); i++) {
        POLLS;
        const lining *l = &linings[i];
        char *line = NULL;
        crt_reader r;
        crt_stream *stream = saying(cx, l->in, &r);
        for (int k = 0; k < COUNT(l->out) && (l->out[k].line || l->out[k].error); k++) {
            crt_poll want = l->out[k].line ? (crt_poll)strlen(l->out[k].line) : l->out[k].error;
            for (int again = 0; again < 1 + (want == CRT_EMSGSIZE); again++)
                CHECK_EQ(AT(s[0], crt_reader_read_line(cx, &r, l->max, &line)), want);
            if (got >= 0 && l->out[k].line) CHECK(!strcmp(line, l->out[k].line));
            if (want == CRT_EMSGSIZE) CHECK_EQ(AT(s[0], crt_reader_skip_until(cx, &r, '\n')), l->out[k].skipped);
        }
        crt_reader_drop(&r);
        crt_close(&stream);
    }
}

// ---------------------------------------------------------------------------
// copies both ways

static uint64_t ways[2];   // bytes each way, when the copy has ended
typedef struct ferry {
    crt_frame co;
    crt_stream *a, *b;
    crt_copier_pair pair;
    crt_poll r;
} ferry;
static crt_poll ferry_run(void *frame, crt_cx *cx)
{
    ferry *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_copy_bidirectional(cx, &self->pair, self->a, self->b));
    ways[0] = self->pair.a_to_b;
    ways[1] = self->pair.b_to_a;
    CRT_RETURN(self->r);
    CRT_FINALLY
        crt_close(&self->a);
        crt_close(&self->b);
    CRT_END;
}
typedef struct shores {
    scene plain;
    crt_stream *left, *right;   // the ferry is between them
    bool swapped, in_memory;
    char page[512];
} shores;
static int shore(shores *w, crt_cx *cx, crt_stream **here, crt_stream **there)
{
    return w->in_memory ? crt_duplex(cx, 1024, here, there) : crt_stream_pair(cx, here, there);
}
static void begin_ferry(shores *w, crt_cx *cx)
{
    crt_stream *a = NULL, *b = NULL;
    CHECK_EQ(shore(w, cx, &w->left, &a), 0);
    CHECK_EQ(shore(w, cx, &w->right, &b), 0);
    ferry f = {.a = w->swapped ? b : a, .b = w->swapped ? a : b};
    CHECK_EQ(crt_spawn_join(cx, &w->plain.join[0], ferry_run, &f), 0);
}
static crt_poll both_ways_run(void *frame, crt_cx *cx)
{
    shores *w = frame;
    scene *self = &w->plain;
    CRT_BEGIN(self, cx);
    begin_ferry(w, cx);
    CRT_AWAIT(self->r = crt_write_all(cx, w->left, "test", 4));
    CRT_AWAIT(self->r = crt_read_exact(cx, w->right, self->buf, 4));
    CHECK(self->r == 4 && !memcmp(self->buf, "test", 4));
    CHECK_EQ(crt_shutdown(cx, w->left), 0);
    CRT_AWAIT(self->r = crt_read(cx, w->right, self->buf, 4));
    CHECK_EQ(self->r, 0);   // the end went over too, and the other way goes on
    CRT_AWAIT(self->r = crt_write_all(cx, w->right, "quux", 4));
    CRT_AWAIT(self->r = crt_read_exact(cx, w->left, self->buf, 4));
    CHECK(self->r == 4 && !memcmp(self->buf, "quux", 4));
    crt_close(&w->right);
    CRT_AWAIT(self->r = crt_join(cx, &self->join[0], &self->result));
    CHECK(self->r == 0 && self->result == 0);
    CHECK(ways[0] == 4 && ways[1] == 4);
    CRT_FINALLY
        crt_close(&w->left);
        crt_close(&w->right);
    CRT_END;
}
static void both_ways_and_one_after_the_other_has_ended(crt_runtime *rt)
{
    for (int i = 0; i < 4; i++) {
        shores w = {.swapped = i & 1, .in_memory = i & 2};
        CHECK_EQ(crt_block_on(rt, both_ways_run, &w), 0);
    }
}
// On a virtual clock the time-out comes only when nobody can go on.
static crt_poll full_run(void *frame, crt_cx *cx)
{
    shores *w = frame;
    scene *self = &w->plain;
    CRT_BEGIN(self, cx);
    begin_ferry(w, cx);
    for (;;) {
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(10), crt_write(cx, w->left, w->page, sizeof w->page)));
        if (self->r < 0) break;
        self->sum += self->r;
    }
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK(self->sum >= 2048);   // both pipes are full
    CRT_AWAIT(self->r = crt_write_all(cx, w->right, "quux", 4));
    CRT_AWAIT(self->r = crt_read_exact(cx, w->left, self->buf, 4));
    CHECK(self->r == 4 && !memcmp(self->buf, "quux", 4));
    CHECK_EQ(crt_shutdown(cx, w->left), 0);
    self->d = self->sum;
    do {
        CRT_AWAIT(self->r = crt_read(cx, w->right, w->page, sizeof w->page));
        self->d -= self->r;
    } while (self->r > 0);
    CHECK(self->r == 0 && self->d == 0);   // every byte
    crt_close(&w->right);
    CRT_AWAIT(self->r = crt_join(cx, &self->join[0], &self->result));
    CHECK(self->r == 0 && self->result == 0);
    CHECK_EQ(ways[w->swapped], self->sum);
    CHECK_EQ(ways[!w->swapped], 4);
    CRT_FINALLY
        crt_close(&w->left);
        crt_close(&w->right);
    CRT_END;
}
static void a_full_side_does_not_hold_up_the_other(void)
{
    for (int i = 0; i < 2; i++) {
        crt_runtime *rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD, .start_paused = true});
        shores w = {.swapped = i, .in_memory = true};
        CHECK_EQ(crt_block_on(rt, full_run, &w), 0);
        crt_runtime_drop(&rt);
    }
}

#ifndef _WIN32   // descriptors that are no sockets, Unix sockets, real-time signals
// ---------------------------------------------------------------------------
// sockets, FIFOs and bare descriptors

typedef struct posix {
    scene plain;
    crt_stream *a, *b, *c;
    crt_listener *l;
    crt_addr at;
    bool tcp;
    int fd[2];
    char dir[64], path[96], host[64];
    char page[1 << 16];
} posix;
static void posix_drop(posix *p)
{
    crt_close(&p->a);
    crt_close(&p->b);
    crt_close(&p->c);
    crt_close(&p->l);
}
// A posix is too large for a stack; with a directory of its own.
static void plays_posix(crt_runtime *rt, crt_fn fn, bool tcp)
{
    posix *p = calloc(1, sizeof *p);
    p->tcp = tcp;
    CHECK_EQ(test_directory(p->dir, sizeof p->dir), 0);
    snprintf(p->path, sizeof p->path, "%s/f", p->dir);
    CHECK_EQ(crt_block_on(rt, fn, p), 0);
    unlink(p->path);
    CHECK_EQ(rmdir(p->dir), 0);
    free(p);
}
static crt_poll pair_run(scene *self, crt_cx *cx, posix *p)
{
    CRT_BEGIN(self, cx);
    if (!p->tcp) CRT_RETURN(crt_stream_pair(cx, &p->a, &p->b));
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &p->l));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_local_addr(p->l, &p->at), 0);
    crt_addr_format(&p->at, p->host, sizeof p->host);
    CRT_AWAIT(self->r = crt_tcp_connect(cx, p->host, &p->a));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_accept(cx, p->l, &p->b, NULL));
    CRT_RETURN(self->r);
    CRT_FINALLY
        crt_close(&p->l);
    CRT_END;
}
static crt_poll read_ready_run(void *frame, crt_cx *cx)
{
    static scene pairing;
    posix *p = frame;
    scene *self = &p->plain;
    HAND;
    CRT_BEGIN(self, cx);
    memset(&pairing, 0, sizeof pairing);
    CRT_AWAIT(self->r = pair_run(&pairing, cx, p));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(AT(s[0], crt_readable(cx, p->b)), PENDING);
    CRT_AWAIT(self->r = crt_write_all(cx, p->a, "ping", 4));
    UNTIL_READY(crt_readable(cx, p->b));
    CHECK_EQ(got, 0);
    CRT_AWAIT(self->r = crt_read_exact(cx, p->b, self->buf, 4));
    CHECK_EQ(self->r, 4);
    do CHECK_EQ(crt_try_read(p->b, self->buf, 10), CRT_EAGAIN);   // said once more, perhaps
    while (AT(s[0], crt_readable(cx, p->b)) == 0);
    CHECK_EQ(got, PENDING);
    crt_close(&p->a);
    UNTIL_READY(crt_readable(cx, p->b));
    CHECK_EQ(got, 0);
    CHECK_EQ(crt_try_read(p->b, self->buf, 10), 0);
    CRT_FINALLY
        posix_drop(p);
    CRT_END;
}
static crt_poll write_ready_run(void *frame, crt_cx *cx)
{
    static scene pairing;
    posix *p = frame;
    scene *self = &p->plain;
    HAND;
    CRT_BEGIN(self, cx);
    memset(&pairing, 0, sizeof pairing);
    CRT_AWAIT(self->r = pair_run(&pairing, cx, p));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_writable(cx, p->a));
    CHECK_EQ(self->r, 0);
    do while ((self->r = crt_try_write(p->a, p->page, sizeof p->page)) > 0) {}   // the system may find room later on
    while (AT(s[0], crt_writable(cx, p->a)) == 0);
    CHECK_EQ(self->r, CRT_EAGAIN);
    CHECK_EQ(got, PENDING);
    crt_close(&p->b);
    UNTIL_READY(crt_writable(cx, p->a));
    CHECK_EQ(got, 0);
    CRT_FINALLY
        posix_drop(p);
    CRT_END;
}
static void readiness(crt_runtime *rt)
{
    for (int tcp = 0; tcp < 2; tcp++) {
        plays_posix(rt, read_ready_run, tcp);
        plays_posix(rt, write_ready_run, tcp);
    }
}

static crt_stream *opened(crt_cx *cx, const char *path, int how)
{
    crt_stream *s = NULL;
    int fd = open(path, how | O_NONBLOCK | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_EQ(crt_stream_from_fd(cx, fd, CRT_FD_OWN, &s), 0);
    return s;
}
static crt_poll fifos_run(void *frame, crt_cx *cx)
{
    posix *p = frame;
    scene *self = &p->plain;
    HAND;
    CRT_BEGIN(self, cx);
    CHECK_EQ(mkfifo(p->path, 0700), 0);
    // The end, when a writer has gone; a new writer begins anew.
    p->a = opened(cx, p->path, O_RDONLY);
    for (self->k = 0; self->k < 3; self->k++) {
        p->b = opened(cx, p->path, O_WRONLY);
        CRT_AWAIT(self->r = crt_write_all(cx, p->b, "0123456789", 10));
        CHECK_EQ(self->r, 10);
        crt_close(&p->b);
        CRT_AWAIT(self->r = crt_read_exact(cx, p->a, self->buf, 10));
        CHECK_EQ(self->r, 10);
        CRT_AWAIT(self->r = crt_read_exact(cx, p->a, self->buf, 10));
        CHECK_EQ(self->r, CRT_EEOF);
    }
    // After the end, a writer that says nothing yet is waited for.
    p->b = opened(cx, p->path, O_WRONLY);
    CHECK_EQ(AT(s[0], crt_read(cx, p->a, self->buf, 10)), PENDING);
    CRT_AWAIT(self->r = crt_write_all(cx, p->b, "xyz", 3));
    UNTIL_READY(crt_read(cx, p->a, self->buf, 10));
    CHECK_EQ(got, 3);
    posix_drop(p);
    // Who reads and writes never sees the end.
    p->a = opened(cx, p->path, O_RDWR);
    for (self->k = 0; self->k < 3; self->k++) {
        CHECK_EQ(AT(s[0], crt_read(cx, p->a, self->buf, 10)), PENDING);
        p->b = opened(cx, p->path, O_WRONLY);
        CRT_AWAIT(self->r = crt_write_all(cx, p->b, "0123456789", 10));
        crt_close(&p->b);
        UNTIL_READY(crt_read(cx, p->a, self->buf, 10));
        CHECK_EQ(got, 10);
    }
    CRT_FINALLY
        posix_drop(p);
    CRT_END;
}
static void fifos(crt_runtime *rt) { plays_posix(rt, fifos_run, false); }

static crt_poll no_fifo_run(void *frame, crt_cx *cx)
{
    posix *p = frame;
    scene *self = &p->plain;
    CRT_BEGIN(self, cx);
#ifdef __linux__   // whose epoll takes no files
    p->fd[0] = open(p->path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
#ifndef CRT_PLATFORM_KQUEUE
    CHECK_EQ(crt_stream_from_fd(cx, p->fd[0], CRT_FD_OWN, &p->a), -EPERM);
    CHECK(!p->a);
#endif
    CHECK(fcntl(p->fd[0], F_GETFD) >= 0);   // it is still the caller's
    close(p->fd[0]);
    unlink(p->path);
#endif
    // One that blocks does not any more; the wrong direction is an error, and not a wait.
    CHECK_EQ(mkfifo(p->path, 0700), 0);
    p->a = opened(cx, p->path, O_RDONLY);
    p->fd[0] = open(p->path, O_WRONLY | O_CLOEXEC);
    CHECK_EQ(fcntl(p->fd[0], F_GETFL) & O_NONBLOCK, 0);
    CHECK_EQ(crt_stream_from_fd(cx, p->fd[0], CRT_FD_OWN, &p->b), 0);
    CHECK(fcntl(p->fd[0], F_GETFL) & O_NONBLOCK);
    CRT_AWAIT(self->r = crt_write(cx, p->a, "x", 1));
    CHECK_EQ(self->r, -EBADF);
    CRT_AWAIT(self->r = crt_read(cx, p->b, self->buf, 1));
    CHECK_EQ(self->r, -EBADF);
    CRT_FINALLY
        posix_drop(p);
    CRT_END;
}
static void descriptors_that_are_no_fifo(crt_runtime *rt) { plays_posix(rt, no_fifo_run, false); }

enum { WAITERS = 8 };
static int waiters;   // atomic: those that have been polled
typedef struct waiter {
    crt_frame co;
    crt_poll r;
    int fd;
} waiter;
static crt_poll awaits(crt_cx *cx, int fd)
{
    crt_poll r = crt_fd_readable(cx, fd);
    ADD(waiters, 1);
    return r;
}
static crt_poll waiter_run(void *frame, crt_cx *cx)
{
    waiter *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = awaits(cx, self->fd));
    CRT_RETURN(self->r);
    CRT_END;
}
static crt_poll bare_run(void *frame, crt_cx *cx)
{
    posix *p = frame;
    scene *self = &p->plain;
    HAND;
    CRT_BEGIN(self, cx);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, p->fd), 0);
    for (int i = 0; i < 2; i++) CHECK_EQ(fcntl(p->fd[i], F_SETFL, O_NONBLOCK), 0);
    for (self->k = 0; self->k < 2; self->k++) {
        CRT_AWAIT(self->r = crt_fd_writable(cx, p->fd[self->k]));
        CHECK_EQ(self->r, 0);
    }
    CHECK_EQ(AT(s[0], crt_fd_readable(cx, p->fd[0])), PENDING);
    CHECK_EQ(CANCEL(s[0], crt_fd_readable(cx, p->fd[0])), UNWIND);
    SET(waiters, 0);
    for (self->k = 0; self->k < WAITERS; self->k++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->k], waiter_run, &(waiter){.fd = p->fd[0]}), 0);
    while (SHARED(waiters) < WAITERS) CRT_YIELD();
    CHECK_EQ(write(p->fd[1], "0", 1), 1);
    for (self->k = 0; self->k < WAITERS; self->k++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->k], &self->result));
        CHECK(self->r == 0 && self->result == 0);
    }
    CRT_AWAIT(self->r = crt_fd_readable(cx, p->fd[0]));   // it still is, until somebody reads
    CHECK_EQ(self->r, 0);
    CHECK_EQ(read(p->fd[0], self->buf, 10), 1);
    CHECK_EQ(AT(s[0], crt_fd_readable(cx, p->fd[0])), PENDING);
    CHECK_EQ(CANCEL(s[0], crt_fd_readable(cx, p->fd[0])), UNWIND);
    close(p->fd[1]);
    CRT_AWAIT(self->r = crt_fd_ready(cx, p->fd[0], 0));
    CHECK(self->r > 0 && (self->r & CRT_FD_HANGUP));
    close(p->fd[0]);
    CRT_END;
}
static void waits_of_a_bare_descriptor(crt_runtime *rt) { plays_posix(rt, bare_run, false); }

#ifdef SIGRTMIN
enum { REALTIME = 28 };   // there are 30 at least; the last are other programs' (memcheck's)
static crt_poll realtime_run(void *frame, crt_cx *cx)
{
    static crt_slot slots[REALTIME];
    static bool heard[REALTIME];
    scene *self = frame;
    HAND;
    CRT_BEGIN(self, cx);
    memset(slots, 0, sizeof slots);
    memset(heard, 0, sizeof heard);
    for (int i = 0; i < REALTIME; i++) CHECK_EQ(AT(slots[i], crt_signal_recv(cx, SIGRTMIN + i)), PENDING);
    for (int i = 0; i < REALTIME; i++) CHECK_EQ(raise(SIGRTMIN + i), 0);
    while (self->n < REALTIME) {
        for (int i = 0; i < REALTIME; i++)
            if (!heard[i] && AT(slots[i], crt_signal_recv(cx, SIGRTMIN + i)) == 0) heard[i] = true, self->n++;
        CRT_AWAIT(self->r = crt_sleep(cx, CRT_MS(1)));
    }
    CRT_END;
}
static void all_realtime_signals(void)   // on the caller's thread: a worker has signals blocked
{
    crt_runtime *rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD});
    plays(rt, realtime_run);
    crt_runtime_drop(&rt);
}
#endif
#endif

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST(a_datagram_each_way_costs_budget);
    TEST_ON_EACH(a_full_channel_gives_a_budget_of_messages);
    TEST(a_poll_that_runs_out_is_counted_once);
    TEST_ON_EACH(a_join_begins_one_arm_later_each_time);
    TEST(a_hook_before_parking_wakes);
    TEST(a_hook_before_parking_starves_no_timer);
    TEST_ON_EACH(another_block_on_wakes_this_one);
    TEST(woken_while_the_runtime_goes);
    TEST(wakers_outlive_their_runtime);
    TEST_ON_EACH_WITH(a_cleanup_panics, .log = {test_log, NULL, 0});
    TEST(intervals);
    TEST(an_interval_without_end);
    TEST(timers_are_set_anew);
    TEST(a_timer_moved_to_anothers_deadline);
    TEST(years);
    TEST(the_clock_is_advanced);
    TEST_ON_EACH(a_busy_arm_does_not_keep_a_timeout_from_ending);
    TEST_ON_EACH(copies_let_others_run);
    TEST_ON_EACH(frames);
    TEST(frames_that_keep_one_waiting);
    TEST_ON_EACH(written_frames);
    TEST_ON_EACH(lines);
    TEST_ON_EACH(both_ways_and_one_after_the_other_has_ended);
    TEST(a_full_side_does_not_hold_up_the_other);
#ifndef _WIN32
    TEST_ON_EACH(readiness);
    TEST_ON_EACH(fifos);
    TEST_ON_EACH_WITH(descriptors_that_are_no_fifo, .log = {test_log, NULL, 0});
    TEST_ON_EACH(waits_of_a_bare_descriptor);
#ifdef SIGRTMIN
    TEST(all_realtime_signals);
#endif
#endif
    return test_end();
}
