// What a later review found in tasks, timers, groups, shutdown and children: each in the smallest scene
// that shows it (see test_regressions.c). Where a hang was the bug, the harness names it.
#ifndef _WIN32
#include <signal.h>
#include <sys/types.h>
static int counted_kill(pid_t pid, int sig);
#define kill counted_kill
#endif
#include <stddef.h>
#ifndef __atomic_store_n   // tcc's is a macro
// What this thread does once, before its next store to a word of crt or compare-and-swap of it.
#define STEPS_IN
static _Thread_local struct { const void *word; void (*act)(void); } meanwhile;
static void steps_in(const volatile void *word)
{
    if (!meanwhile.act || word != meanwhile.word) return;
    void (*act)(void) = meanwhile.act;
    meanwhile.act = NULL;
    act();
}
#define __atomic_store_n(p, v, order) (steps_in(p), __atomic_store_n((p), (v), (order)))
#define __atomic_compare_exchange_n(p, old, to, weak, ok, no)                              \
    (steps_in(p), __atomic_compare_exchange_n((p), (old), (to), (weak), (ok), (no)))
#endif
// What this thread does before crt writes its next text.
#include <stdio.h>
static _Thread_local void (*before_text)(void);
static void text_comes(void)
{
    void (*act)(void) = before_text;
    before_text = NULL;
    if (act) act();
}
#define snprintf(...) (text_comes(), snprintf(__VA_ARGS__))
#define CRT_IMPLEMENTATION
#include "crt.h"
#undef snprintf
#include "harness.h"
#include "by_hand.h"
#include "runtimes.h"
#include <pthread.h>
#ifndef _WIN32
#include <poll.h>
#undef kill
static int kills;   // those of crt
static int counted_kill(pid_t pid, int sig)
{
    kills++;
    return kill(pid, sig);
}
#endif

#define GET(flag) __atomic_load_n(&(flag), __ATOMIC_SEQ_CST)
#define SET(flag, to) __atomic_store_n(&(flag), (to), __ATOMIC_SEQ_CST)
// A condition that comes true soon; if it does not, the wait ends, and somebody says so.
#define SOON(c)                                                                            \
    for (int ms_ = (int)test_patience(10) * 1000; ms_ && !(c); ms_--) test_pause_us(1000)
static crt_runtime *runtime(int workers)   // 0: current thread
{
    crt_config c = {.flavor = workers ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD, .worker_threads = workers, COUNTED};
    return built(c);
}
static crt_notify never;

// ---- storage of the caller's for a member of a local set ---------------------------------

typedef struct kid {
    crt_frame co;
    char filled[64];
} kid;
static struct {
    CRT_TASK_STORAGE(kid) task;
    unsigned char behind[64];
} storage;
static crt_poll kid_run(void *frame, crt_cx *cx)
{
    kid *self = frame;
    CRT_BEGIN(self, cx);
    memset(self->filled, 'K', sizeof self->filled);
    CRT_YIELD();
    CRT_END;
}
typedef struct local_root {
    crt_frame co;
    crt_local_set set;
    crt_join_handle *join;
    crt_poll r;
} local_root;
static crt_poll member_run(void *frame, crt_cx *cx)
{
    local_root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_ex(cx, &(crt_task_desc){.fn = kid_run, .size = sizeof(kid), .local = true, .join = &self->join,
                                               .storage = &storage.task, .storage_size = sizeof storage.task}), 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK_EQ(self->r, 0);
    CRT_END;
}
static crt_poll set_run(void *frame, crt_cx *cx)
{
    local_root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_local_set_spawn(cx, &self->set, member_run, &(local_root){.r = 0}), 0);
    CRT_AWAIT(crt_local_set_join(cx, &self->set));
    CRT_END;
}
static void storage_has_room_for_a_member_of_a_local_set(void)
{
    for (int i = 0; i < 4; i++) {   // with the room that a histogram takes, and without
        crt_runtime *rt = built((crt_config){.flavor = i & 1 ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD,
                                             .worker_threads = 1, COUNTED,
                                             .schedule_histogram = i & 2 ? CRT_HISTOGRAM_LINEAR : 0});
        local_root r = {.r = 0};
        int spoilt = 0;
        memset(&storage, 0, sizeof storage);
        memset(storage.behind, 0xaa, sizeof storage.behind);
        CHECK_EQ(crt_block_on(rt, set_run, &r), 0);
        for (size_t k = 0; k < sizeof storage.behind; k++) spoilt += storage.behind[k] != 0xaa;
        CHECK_EQ(spoilt, 0);
        CHECK(!crt_task_storage_busy(&storage.task));
        dropped(rt);
    }
}

// ---- delay queues: two wait, another runtime, years --------------------------------------

static crt_delay_queue queue;   // drop it in the end
static crt_delay entries[2];
static struct {
    crt_delay *due;
    int64_t ms;
    int busy;
} heard[2];
typedef struct waits {
    crt_frame co;
    int who;
    crt_delay *due;
    crt_instant began;
    crt_duration after;
    crt_join_handle *join[2];
    crt_poll r;
} waits;
static crt_poll waiter_run(void *frame, crt_cx *cx)
{
    waits *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = crt_delay_next(cx, &queue, &self->due));
        if (self->r != CRT_EBUSY) break;
        heard[self->who].busy++;
        CRT_AWAIT(crt_sleep(cx, CRT_MS(30)));
    }
    CHECK_EQ(self->r, 0);
    heard[self->who].due = self->due;
    heard[self->who].ms = (crt_now(cx) - self->began) / 1000000;
    CRT_END;
}
static crt_poll two_wait_run(void *frame, crt_cx *cx)
{
    waits *self = frame;
    CRT_BEGIN(self, cx);
    self->began = crt_now(cx);
    CHECK_EQ(crt_delay_insert(cx, &queue, &entries[0], CRT_MS(500)), 0);
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], waiter_run, &(waits){.who = 0, .began = self->began}), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(20)));
    // The second is queued, then the first is woken behind it: there is an earlier one to wait for.
    CHECK_EQ(crt_spawn_join(cx, &self->join[1], waiter_run, &(waits){.who = 1, .began = self->began}), 0);
    CHECK_EQ(crt_delay_insert(cx, &queue, &entries[1], CRT_MS(100)), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(1)));
    CHECK(heard[0].due == &entries[1]);
    CHECK_EQ(heard[0].ms, 120);
    CHECK_EQ(heard[0].busy, 0);
    CHECK(heard[1].due == &entries[0]);
    CHECK_EQ(heard[1].ms, 500);
    CHECK(heard[1].busy > 0);
    for (self->who = 0; self->who < 2; self->who++) {
        crt_abort(self->join[self->who]);
        CRT_AWAIT(crt_join(cx, &self->join[self->who], NULL));
    }
    crt_delay_queue_clear(&queue);
    CRT_END;
}
static void who_was_woken_keeps_its_place_in_a_delay_queue(void)
{
    crt_runtime *rt = paused();
    waits r = {.r = 0};
    memset(heard, 0, sizeof heard);
    CHECK_EQ(crt_block_on(rt, two_wait_run, &r), 0);
    crt_delay_queue_drop(&queue);
    dropped(rt);
}

static crt_poll one_waits_run(void *frame, crt_cx *cx)
{
    waits *self = frame;
    CRT_BEGIN(self, cx);
    self->began = crt_now(cx);
    CHECK_EQ(crt_delay_insert(cx, &queue, &entries[0], self->after), 0);
    CRT_AWAIT(self->r = crt_delay_next(cx, &queue, &self->due));
    CHECK(self->r == 0 && self->due == &entries[0]);
    CHECK_EQ((crt_now(cx) - self->began) / 1000000, self->after / 1000000);
    CRT_END;
}
static void an_emptied_delay_queue_goes_by_its_next_runtimes_clock(void)
{
    for (int i = 0; i < 2; i++) {
        crt_runtime *rt = paused();
        waits r = {.after = i ? CRT_MS(100) : CRT_SEC(60)};
        CHECK_EQ(crt_block_on(rt, one_waits_run, &r), 0);
        dropped(rt);
    }
    crt_delay_queue_drop(&queue);
}

static crt_poll years_run(void *frame, crt_cx *cx)
{
    waits *self = frame;
    CRT_BEGIN(self, cx);
    // More than 2^36 ms: a turn of the wheel's top level.
    CHECK_EQ(crt_delay_insert(cx, &queue, &entries[0], CRT_MS((INT64_C(1) << 36) + (INT64_C(1) << 30) + 5)), 0);
    CHECK_EQ(crt_delay_insert(cx, &queue, &entries[1], CRT_MS(INT64_C(5) << 30)), 0);
    CHECK(crt_delay_peek(&queue) == &entries[1]);
    CRT_AWAIT(self->r = crt_delay_next(cx, &queue, &self->due));
    CHECK(self->r == 0 && self->due == &entries[1] && crt_delay_peek(&queue) == &entries[0]);
    CHECK(crt_delay_remove(&queue, &entries[0]));
    CHECK(crt_delay_peek(&queue) == NULL);
    CRT_END;
}
static void a_peek_sees_what_is_due_before_years_have_passed(void)
{
    crt_runtime *rt = paused();
    waits r = {.r = 0};
    CHECK_EQ(crt_block_on(rt, years_run, &r), 0);
    crt_delay_queue_drop(&queue);
    dropped(rt);
}

// ---- a task woken while it runs, and one that then takes long ----------------------------

static int again;   // atomic
typedef struct woken {
    crt_frame co;
    bool yields;
    int polls;
} woken;
static crt_poll long_run(void *frame, crt_cx *cx)
{
    (void)frame, (void)cx;
    SOON(GET(again));
    CHECK(GET(again));
    return 0;
}
static crt_poll woken_run(void *frame, crt_cx *cx)
{
    woken *self = frame;
    if (self->polls++) {
        SET(again, 1);
        return 0;
    }
    // The other worker sleeps, and nobody looks for work: the word counts who is up, and who looks.
    SOON(crt__atomic_load(&cx->rt->idle.word, CRT__SEQ_CST) == 1u << 16);
    CHECK_EQ(crt__atomic_load(&cx->rt->idle.word, CRT__SEQ_CST), 1u << 16);
    CHECK_EQ(crt_spawn(cx, long_run, &(crt_frame){0}), 0);   // into the LIFO slot
    if (self->yields) return crt_yield_now(cx);
    crt_waker w = crt_waker_clone(cx);
    crt_wake(&w);
    return CRT_PENDING;
}
static void a_task_woken_while_it_runs_is_not_stuck_behind_a_long_poll(void)
{
    for (int yields = 0; yields < 2; yields++) {
        // What yields goes to the queue when the worker looks around: after each task.
        crt_runtime *rt = built((crt_config){.worker_threads = 2, .event_interval = yields, COUNTED});
        woken r = {.yields = yields};
        SET(again, 0);
        CHECK_EQ(crt_block_on(rt, woken_run, &r), 0);
        dropped(rt);
    }
}

// ---- a background task while there is always another that was injected -------------------

enum { INJECTED = 5000 };
static int ran, background_at, go;   // atomic
static crt_poll counts_run(void *frame, crt_cx *cx)
{
    (void)frame, (void)cx;
    __atomic_fetch_add(&ran, 1, __ATOMIC_SEQ_CST);
    return 0;
}
static crt_poll background_run(void *frame, crt_cx *cx)
{
    (void)frame, (void)cx;
    SET(background_at, GET(ran));
    return 0;
}
static crt_poll gate_run(void *frame, crt_cx *cx)
{
    (void)frame;
    CHECK_EQ(crt_spawn_ex(cx, &(crt_task_desc){.fn = background_run, .priority = -1}), 0);
    while (!GET(go)) test_pause_us(100);
    return 0;
}
static void injected_tasks_do_not_starve_a_background_task(void)
{
    for (int workers = 0; workers < 2; workers++) {
        crt_runtime *rt = runtime(workers);
        crt_handle *h = crt_runtime_handle(rt);
        SET(ran, 0);
        SET(background_at, -1);
        SET(go, 0);
        CHECK_EQ(crt_handle_spawn(h, gate_run, &(crt_frame){0}), 0);
        for (int i = 0; i < INJECTED; i++) CHECK_EQ(crt_handle_spawn(h, counts_run, &(crt_frame){0}), 0);
        SET(go, 1);
        while (GET(ran) < INJECTED || GET(background_at) < 0)
            if (workers) test_pause_us(100);
            else CHECK(crt_runtime_turn(rt, CRT_SEC(1)) >= 0);
        CHECK(GET(background_at) < 1000);
        crt_handle_drop(&h);
        dropped(rt);
    }
}

// ---- crt_block_on inside hooks ------------------------------------------------------------

enum { BEFORE_POLL, THREAD_START, THREAD_STOP, HOOKS };
static int asked[HOOKS];   // atomic
static void ask(int which)
{
    crt_handle *h = crt_handle_current();
    CHECK(h != NULL);
    CHECK_EQ(crt_handle_block_on(h, nothing_run, &(crt_frame){0}), CRT_ENESTED);
    crt_handle_drop(&h);
    __atomic_fetch_add(&asked[which], 1, __ATOMIC_SEQ_CST);
}
static void before_poll(void *data, const crt_task_meta *meta) { (void)data, (void)meta, ask(BEFORE_POLL); }
static void thread_start(void *data) { (void)data, ask(THREAD_START); }
static void thread_stop(void *data) { (void)data, ask(THREAD_STOP); }
static void a_hook_that_blocks_on_a_task_is_refused(void)
{
    for (int i = 0; i < 3; i++) {   // each hook, and the flavours
        memset(asked, 0, sizeof asked);
        crt_runtime *rt = built((crt_config){.flavor = i ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD, .worker_threads = 1,
                                             .on_before_poll = i < 2 ? before_poll : NULL,
                                             .on_thread_start = i == 2 ? thread_start : NULL,
                                             .on_thread_stop = i == 2 ? thread_stop : NULL, COUNTED});
        CHECK_EQ(crt_block_on(rt, nothing_run, &(crt_frame){0}), 0);
        dropped(rt);
        CHECK_EQ(GET(asked[BEFORE_POLL]) > 0, i < 2);
        CHECK_EQ(GET(asked[THREAD_START]), i == 2);
        CHECK_EQ(GET(asked[THREAD_STOP]), i == 2);
    }
}

// ---- two blocking jobs of one poll ---------------------------------------------------------

static int begun[2], leave;   // atomic
static intptr_t job(void *arg)
{
    SET(*(int *)arg, 1);
    while (!GET(leave)) test_pause_us(100);
    return 0;
}
typedef struct jobs {
    crt_frame co;
    crt_join_handle *join[2];
    int i;
} jobs;
static crt_poll jobs_run(void *frame, crt_cx *cx)
{
    jobs *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 2; self->i++) {   // without an await between
        CHECK_EQ(crt_spawn_blocking(cx, &self->join[self->i], job, &begun[self->i]), 0);
        SOON(GET(begun[self->i]));
        CHECK(GET(begun[self->i]));
    }
    SET(leave, 1);
    for (self->i = 0; self->i < 2; self->i++) CRT_AWAIT(crt_join(cx, &self->join[self->i], NULL));
    CRT_END;
}
static void each_blocking_job_begins_before_the_poll_ends(void)
{
    for (int workers = 0; workers < 3; workers += 2) {
        crt_runtime *rt = runtime(workers);
        jobs r = {.i = 0};
        SET(begun[0], 0);
        SET(begun[1], 0);
        SET(leave, 0);
        CHECK_EQ(crt_block_on(rt, jobs_run, &r), 0);
        dropped(rt);
    }
}

// ---- a foreign loop that blocks on its set-up first ------------------------------------------

#ifndef _WIN32
enum { KIDS = 1000 };   // more than run at once
static crt_poll yields_run(void *frame, crt_cx *cx)
{
    crt_frame *self = frame;
    CRT_BEGIN(self, cx);
    CRT_YIELD();
    __atomic_fetch_add(&ran, 1, __ATOMIC_SEQ_CST);
    CRT_END;
}
static crt_poll set_up_run(void *frame, crt_cx *cx)
{
    crt_frame *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));   // in the driver, so that the wake-up of its own spawn is taken out
    for (int i = 0; i < KIDS; i++) CHECK_EQ(crt_spawn(cx, yields_run, &(crt_frame){0}), 0);
    CRT_END;
}
static void the_poll_descriptor_tells_of_what_a_block_on_left(void)
{
    crt_runtime *rt = runtime(0);
    SET(ran, 0);
    CHECK_EQ(crt_block_on(rt, set_up_run, &(crt_frame){0}), 0);
    CHECK(GET(ran) < KIDS);
    struct pollfd p = {.fd = (int)crt_runtime_poll_fd(rt), .events = POLLIN};
    for (int ready = 1; ready == 1 && GET(ran) < KIDS;) {
        CHECK_EQ(ready = poll(&p, 1, 0), 1);
        CHECK(crt_runtime_turn(rt, 0) > 0);
    }
    dropped(rt);
}
// A loop over the descriptor, and another thread that drives for a while: of the timer that it
// leaves the loop has not asked.
static crt_poll nap_run(void *frame, crt_cx *cx)
{
    crt_frame *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(100)));
    CRT_END;
}
static intptr_t asks_beside(void *rt) { return crt_runtime_next_deadline(rt) == CRT_FOREVER; }
typedef struct heir {
    crt_frame co;
    crt_join_handle *job;
    intptr_t forever;
} heir;
static crt_poll heir_run(void *frame, crt_cx *cx)
{
    heir *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn(cx, nap_run, &(crt_frame){0}), 0);
    CHECK_EQ(crt_spawn_blocking(cx, &self->job, asks_beside, cx->rt), 0);
    CRT_AWAIT(crt_join(cx, &self->job, &self->forever));
    CHECK_EQ(self->forever, 1);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));   // as above
    CRT_END;
}
static void the_poll_descriptor_tells_of_a_timer_and_of_the_end(void)
{
    crt_runtime *rt = runtime(0);
    struct pollfd p = {.fd = (int)crt_runtime_poll_fd(rt), .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 0), 0);
    CHECK(crt_runtime_next_deadline(rt) == CRT_FOREVER);
    CHECK_EQ(crt_block_on(rt, heir_run, &(heir){.forever = 0}), 0);
    CHECK_EQ(poll(&p, 1, 0), 1);
    while (poll(&p, 1, 0) == 1) CHECK(crt_runtime_turn(rt, 0) >= 0);
    crt_duration left = crt_runtime_next_deadline(rt);
    CHECK(left > CRT_SEC(50) && left <= CRT_SEC(100));
    CHECK_EQ(crt_runtime_shutdown(rt, CRT_FOREVER), 0);
    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK_EQ(crt_runtime_turn(rt, 0), CRT_ESHUTDOWN);
    CHECK(crt_runtime_next_deadline(rt) == CRT_FOREVER);
    dropped(rt);
}
#endif

// ---- a shutdown that gives up while another thread drives --------------------------------------

enum { BLOCKS_ON, TURNS, DRIVERS };
static crt_runtime *driven;
static int polls, over, stop, turned;   // atomic
static crt_poll stuck_run(void *frame, crt_cx *cx)
{
    crt_frame *self = frame;
    CRT_BEGIN(self, cx);
    SET(polls, 1);
    while (!GET(over)) test_pause_us(100);   // in one poll, until the shutdown has returned
    CRT_AWAIT(crt_notified(cx, &never));
    CRT_FINALLY
        CRT_AWAIT(crt_notified(cx, &never));
    CRT_END;
}
static crt_poll parked_run(void *frame, crt_cx *cx)
{
    crt_frame *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_notified(cx, &never));
    CRT_FINALLY
        CRT_AWAIT(crt_notified(cx, &never));
    CRT_END;
}
static void *drives(void *how)
{
    if (*(int *)how == TURNS) CHECK(crt_runtime_turn(driven, CRT_FOREVER) > 0);
    else CHECK_EQ(crt_block_on(driven, stuck_run, &(crt_frame){0}), CRT_ECANCELED);
    SET(turned, 1);
    return NULL;
}
static void stuck(int how, crt_duration timeout)
{
    crt_runtime *rt = driven = runtime(0);
    crt_handle *h = crt_runtime_handle(rt);
    crt_join_handle *join[2] = {NULL, NULL};
    pthread_t thread;
    SET(polls, 0);
    SET(over, 0);
    CHECK_EQ(crt_handle_spawn_join(h, &join[0], parked_run, &(crt_frame){0}), 0);
    if (how == TURNS) CHECK_EQ(crt_handle_spawn_join(h, &join[1], stuck_run, &(crt_frame){0}), 0);
    CHECK_EQ(pthread_create(&thread, NULL, drives, &how), 0);
    while (!GET(polls)) test_pause_us(100);
    CHECK_EQ(crt_runtime_shutdown(rt, timeout), 2);
    SET(over, 1);
    CHECK_EQ(crt_join_blocking(&join[0], NULL), CRT_ECANCELED);
    if (how == TURNS) CHECK_EQ(crt_join_blocking(&join[1], NULL), CRT_ECANCELED);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    crt_handle_drop(&h);
    dropped(rt);
}
static void a_driver_stuck_in_a_poll_ends_what_the_shutdown_left(void) { stuck(BLOCKS_ON, CRT_MS(1)); }
static void a_driver_stuck_in_a_poll_ends_what_a_shutdown_without_time_left(void) { stuck(BLOCKS_ON, 0); }
static void a_turn_stuck_in_a_poll_ends_what_the_shutdown_left(void) { stuck(TURNS, CRT_MS(1)); }

static crt_poll busy_run(void *frame, crt_cx *cx)
{
    crt_frame *self = frame;
    CRT_BEGIN(self, cx);
    while (!GET(stop)) {
        SET(polls, 1);
        CRT_YIELD();
    }
    CRT_FINALLY
        while (!GET(stop)) CRT_YIELD();
    CRT_END;
}
static void a_turn_without_end_stops_with_the_shutdown(void)
{
    crt_runtime *rt = driven = runtime(0);
    crt_handle *h = crt_runtime_handle(rt);
    crt_join_handle *join;
    pthread_t thread;
    int how = TURNS;
    SET(polls, 0);
    SET(stop, 0);
    SET(turned, 0);
    CHECK_EQ(crt_handle_spawn_join(h, &join, busy_run, &(crt_frame){0}), 0);
    CHECK_EQ(pthread_create(&thread, NULL, drives, &how), 0);
    while (!GET(polls)) test_pause_us(100);
    CHECK_EQ(crt_runtime_shutdown(rt, CRT_MS(1)), 1);
    SOON(GET(turned));
    CHECK(GET(turned));
    SET(stop, 1);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(crt_join_blocking(&join, NULL), CRT_ECANCELED);
    crt_handle_drop(&h);
    dropped(rt);
}

// ---- a runtime is dropped while another thread shuts it down --------------------------------------

static int dropping, job_left;   // atomic
static intptr_t lingering_job(void *arg)
{
    SET(begun[0], 1);
    while (!GET(dropping)) test_pause_us(100);
    test_pause_us(30000);   // in which a drop that does not wait is done
    SET(job_left, 1);
    return (intptr_t)arg;
}
static crt_poll lingers_run(void *frame, crt_cx *cx)
{
    crt_frame *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_blocking(cx, NULL, lingering_job, NULL), 0);
    CRT_AWAIT(crt_notified(cx, &never));
    CRT_END;
}
static void *shuts_down(void *rt)
{
    while (!GET(begun[0])) test_pause_us(100);
    CHECK_EQ(crt_runtime_shutdown(rt, CRT_FOREVER), 0);
    return NULL;
}
static void a_drop_waits_for_another_threads_shutdown(void)
{
    for (int workers = 0; workers < 2; workers++) {
        crt_runtime *rt = runtime(workers);
        pthread_t thread;
        SET(begun[0], 0);
        SET(dropping, 0);
        SET(job_left, 0);
        CHECK_EQ(pthread_create(&thread, NULL, shuts_down, rt), 0);
        CHECK_EQ(crt_block_on(rt, lingers_run, &(crt_frame){0}), CRT_ECANCELED);
        SET(dropping, 1);
        crt_runtime_drop(&rt);
        CHECK(GET(job_left));
        CHECK(rt == NULL);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        test_all_freed();
    }
}

// ---- a scope's tasks are cancelled with its body, not after it -----------------------------------

static crt_oneshot_tx *goodbye;
static crt_oneshot_rx *farewell;
static int64_t sibling_ms, body_ms;
typedef struct scoped {
    crt_frame co;
    crt_scope *scope;
    bool fails;
} scoped;
static crt_poll sibling_run(void *frame, crt_cx *cx)
{
    scoped *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(3)));
    CRT_FINALLY
        sibling_ms = crt_now(cx) / 1000000;
        crt_oneshot_tx_drop(&goodbye);
    CRT_END;
}
static crt_poll fails_run(void *frame, crt_cx *cx)
{
    scoped *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(20)));
    CRT_RETURN(-EXDEV);
    CRT_END;
}
static crt_poll body_run(scoped *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_scope_spawn(cx, self->scope, sibling_run, &(scoped){.fails = false}), 0);
    if (self->fails) CHECK_EQ(crt_scope_spawn(cx, self->scope, fails_run, &(scoped){.fails = true}), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(60)));
    CRT_FINALLY
        CHECK_EQ(crt_scope_spawn(cx, self->scope, fails_run, &(scoped){.fails = true}), CRT_ECANCELED);
        CRT_AWAIT(crt_oneshot_recv(cx, &farewell, NULL));   // until the sibling has gone
        body_ms = crt_now(cx) / 1000000;
    CRT_END;
}
static crt_poll forever_run(void *frame, crt_cx *cx)
{
    waits *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_FOREVER));
    CRT_END;
}
typedef struct opener {
    crt_frame co;
    crt_scope scope;
    scoped body;
    crt_timer timer;
    crt_instant began;
    crt_poll r;
    bool fails;
} opener;
static crt_poll opener_run(void *frame, crt_cx *cx)
{
    opener *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_oneshot_new(0, &goodbye, &farewell), 0);
    self->body = (scoped){.scope = &self->scope, .fails = self->fails};
    self->began = crt_now(cx);
    if (self->fails)
        CRT_AWAIT(self->r = crt_scope_try_run(cx, &self->scope, body_run(&self->body, cx)));
    else
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(20),
                                        crt_scope_run(cx, &self->scope, body_run(&self->body, cx))));
    CHECK_EQ(self->r, self->fails ? -EXDEV : CRT_ETIMEDOUT);
    CHECK_EQ(sibling_ms - self->began / 1000000, 20);
    CHECK_EQ(body_ms - self->began / 1000000, 20);
    CRT_FINALLY
        crt_oneshot_rx_drop(&farewell);
    CRT_END;
}
static void a_scopes_tasks_are_cancelled_before_its_body_has_cleaned_up(void)
{
    for (int fails = 0; fails < 2; fails++) {
        crt_runtime *rt = paused();
        opener r = {.fails = fails};
        sibling_ms = body_ms = -1;
        CHECK_EQ(crt_block_on(rt, opener_run, &r), 0);
        dropped(rt);
    }
}

// ---- a local set outlives its runtime ---------------------------------------------------------------

// Blocks that are freed stay, and who looks at them finds nothing but the address of `haunted`.
typedef struct ghost {
    CRT__ALIGNAS(16) struct ghost *next;
    size_t n;
} ghost;
static ghost *ghosts;
static crt_runtime *haunted;
static void *ghost_alloc(size_t n, void *user)
{
    ghost *g = malloc(sizeof *g + n);
    (void)user;
    if (!g) return NULL;
    g->n = n;
    return g + 1;
}
static void ghost_free(void *p, void *user)
{
    ghost *g = (ghost *)p - 1;
    (void)user;
    for (size_t at = 0; at + sizeof haunted <= g->n; at += sizeof haunted)
        memcpy((char *)p + at, &haunted, sizeof haunted);
    g->next = ghosts;
    ghosts = g;
}
static crt_local_set old_set;
static crt_poll old_set_run(void *frame, crt_cx *cx)
{
    local_root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_local_set_spawn(cx, &old_set, nothing_run, &(crt_frame){0}), self->r);
    CRT_AWAIT(crt_local_set_join(cx, &old_set));
    CRT_END;
}
static void a_local_set_whose_runtime_is_gone_is_refused_by_another(void)
{
    crt_runtime *a = built((crt_config){.flavor = CRT_CURRENT_THREAD, .allocator = {ghost_alloc, ghost_free, NULL}});
    crt_runtime *b = haunted = runtime(0);
    local_root r = {.r = 0}, refused = {.r = CRT_EINVAL}, anew = {.r = 0};
    memset(&old_set, 0, sizeof old_set);
    CHECK_EQ(crt_block_on(a, old_set_run, &r), 0);
    crt_runtime_drop(&a);
    CHECK(ghosts != NULL);
    CHECK_EQ(crt_block_on(b, old_set_run, &refused), 0);
    memset(&old_set, 0, sizeof old_set);
    CHECK_EQ(crt_block_on(b, old_set_run, &anew), 0);
    for (ghost *next; ghosts; ghosts = next) {
        next = ghosts->next;
        free(ghosts);
    }
    dropped(b);
}

// ---- children ------------------------------------------------------------------------------------------

#ifndef _WIN32
typedef struct parent {
    crt_frame co;
    crt_process *p;
    crt_output out;
    int pid;
    crt_poll r;
} parent;
static crt_poll killed_run(void *frame, crt_cx *cx)
{
    static const char *const cat[] = {"cat", NULL};
    parent *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_process_spawn(cx, &(crt_process_desc){.argv = cat, .in = {.kind = CRT_STDIO_PIPE}},
                                          &self->p));
    CHECK_EQ(self->r, 0);
    self->pid = crt_process_id(self->p);
    CHECK_EQ(kill(self->pid, SIGKILL), 0);
    CHECK_EQ(waitpid(self->pid, NULL, 0), self->pid);
    kills = 0;
    CHECK_EQ(crt_process_kill(self->p), -ESRCH);
    CHECK_EQ(kills, 0);   // its number may be another's by now
    CRT_FINALLY
        crt_close(&self->p);
    CRT_END;
}
static void a_child_that_was_waited_for_elsewhere_is_not_killed(void)
{
    crt_runtime *rt = runtime(0);
    parent r = {.r = 0};
    int before = test_fd_count();
    CHECK_EQ(crt_block_on(rt, killed_run, &r), 0);
    CHECK_EQ(crt_block_on(rt, nothing_run, &(crt_frame){0}), 0);
    dropped(rt);
    CHECK(before < 0 || test_fd_count() <= before);
}

static crt_poll output_run(void *frame, crt_cx *cx)
{
    static const char *const echo[] = {"echo", "hello", NULL}, *const none[] = {"/no/such/program", NULL};
    parent *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_process_output(cx, &(crt_process_desc){.argv = echo}, &self->out));
    CHECK(self->r == 0 && self->out.out_n == 6 && !memcmp(self->out.out, "hello\n", 6));
    crt_output_free(&self->out);
    CRT_AWAIT(self->r = crt_process_output(cx, &(crt_process_desc){.argv = none}, &self->out));
    CHECK_EQ(self->r, -ENOENT);
    CHECK(self->out.out == NULL);
    CHECK_EQ(self->out.out_n, 0);
    CRT_FINALLY
        crt_output_free(&self->out);
    CRT_END;
}
static void an_output_used_again_has_nothing_of_the_last(void)
{
    crt_runtime *rt = runtime(0);
    parent r = {.r = 0};
    CHECK_EQ(crt_block_on(rt, output_run, &r), 0);
    dropped(rt);
}
#endif

// ---- small ones ---------------------------------------------------------------------------------------

typedef struct small {
    crt_frame co;
    crt_until until;
    crt_delay_queue q;
    crt_poll r;
} small;
static crt_poll missing_run(void *frame, crt_cx *cx)
{
    small *self = frame;
    crt_watch_tx *tx = NULL;
    crt_watch_rx *rx = NULL;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_watch_new(8, NULL, &tx, &rx), CRT_EINVAL);   // it would hold what is in its memory by chance
    CHECK(!tx && !rx);
    crt_watch_tx_drop(&tx);
    crt_watch_rx_drop(&rx);
    CRT_AWAIT(self->r = crt_run_until_cancelled(cx, &self->until, NULL, crt_yield_now(cx)));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_delay_next(cx, &self->q, NULL));
    CHECK_EQ(self->r, CRT_EINVAL);
    CHECK_EQ(crt_join_set_spawn_blocking(cx, NULL, lingering_job, NULL), CRT_EINVAL);
    CRT_END;
}
static void what_is_missing_is_refused(void)
{
    crt_runtime *rt = runtime(0);
    small r = {.r = 0};
    CHECK_EQ(crt_block_on(rt, missing_run, &r), 0);
    dropped(rt);
}

static void an_abort_handle_hears_of_the_end_as_early_as_the_join(void)
{
    crt_runtime *rt = runtime(0);
    crt_handle *h = crt_runtime_handle(rt);
    crt_join_handle *join;
    CHECK_EQ(crt_handle_spawn_join(h, &join, nothing_run, &(crt_frame){0}), 0);
    crt_abort_handle *a = crt_join_abort_handle(join);
    CHECK(!crt_is_finished(join) && !crt_abort_handle_is_finished(a));
    crt__joined(join)->join = CRT__JOIN_DONE;   // as the thread does that ends it, on its way
    CHECK(crt_is_finished(join));
    CHECK(crt_abort_handle_is_finished(a));
    crt__joined(join)->join = 0;
    CHECK_EQ(crt_runtime_turn(rt, 0), 1);
    CHECK(crt_is_finished(join) && crt_abort_handle_is_finished(a));
    CHECK_EQ(crt_join_blocking(&join, NULL), 0);
    crt_abort_handle_drop(&a);
    crt_handle_drop(&h);
    dropped(rt);
}

#ifdef __linux__
static void metrics_that_find_no_room_on_the_disk_say_so(void)
{
    static char buffer[1 << 16];   // takes all of it: only a flush finds out
    crt_runtime *rt = runtime(1);
    FILE *f = fopen("/dev/full", "w");
    CHECK(f != NULL);
    if (f) {
        CHECK_EQ(setvbuf(f, buffer, _IOFBF, sizeof buffer), 0);
        CHECK_EQ(crt_metrics_prometheus(rt, f), -EIO);
        fclose(f);
    }
    dropped(rt);
}
#endif

// ---- a leaf that stays parked where a poll by hand was unwound -------------------------------------------

enum { TAKES_IT, LOOKS_AWAY, PANICS, TIMES_OUT, HOWS };
static const char lump[3000];
typedef struct hands {
    crt_frame co;
    int how, polls;
    bool writes;   // or it sleeps
    crt_stream *a, *b;
    crt_timer timer;
    crt_instant began;
    crt_join_handle *join;
    char got[4000];
    size_t n;
    crt_poll r;
} hands;
static crt_poll unwound(hands *self, crt_cx *cx)
{
    if (self->how != LOOKS_AWAY && crt_take_unwind(cx)) return CRT_UNWIND;
    if (cx->unwind) return CRT_PENDING;
    if (self->how == PANICS && self->polls++) return crt_panic(cx, "by hand");   // its leaf is parked
    if (self->how == PANICS) {
        crt_waker w = crt_waker_clone(cx);
        crt_wake(&w);
    }
    return self->a ? crt_write_all(cx, self->a, lump, sizeof lump) : crt_sleep(cx, CRT_SEC(2));
}
static crt_poll hands_run(void *frame, crt_cx *cx)
{
    hands *self = frame;
    CRT_BEGIN(self, cx);
    if (self->how == TIMES_OUT) {
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(20), unwound(self, cx)));
        CHECK_EQ(self->r, CRT_ETIMEDOUT);
    } else {
        CRT_AWAIT(unwound(self, cx));
    }
    CRT_FINALLY
        self->began = crt_now(cx);
        if (self->a) {
            CRT_AWAIT(self->r = crt_write_all(cx, self->a, "bye\n", 4));
            CHECK_EQ(self->r, 4);
        } else {
            CRT_AWAIT(self->r = crt_sleep(cx, CRT_MS(10)));
            CHECK_EQ(self->r, 0);
            CHECK_EQ((crt_now(cx) - self->began) / 1000000, 10);
        }
        crt_close(&self->a);
    CRT_END;
}
static crt_poll unwinds_run(void *frame, crt_cx *cx)
{
    hands *self = frame;
    CRT_BEGIN(self, cx);
    if (self->writes) CHECK_EQ(crt_duplex(cx, 1000, &self->a, &self->b), 0);
    CHECK_EQ(crt_spawn_join(cx, &self->join, hands_run, &(hands){.how = self->how, .a = self->a}), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(10)));
    if (self->how < PANICS) crt_abort(self->join);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(30)));
    while (self->b) {   // as much as there was room for before, and then the four
        CRT_AWAIT(self->r = crt_read(cx, self->b, self->got + self->n, sizeof self->got - self->n));
        if (self->r <= 0) break;
        self->n += (size_t)self->r;
    }
    if (self->b) CHECK(self->n == 1004 && !memcmp(self->got + 1000, "bye\n", 4));
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK_EQ(self->r, self->how == TIMES_OUT ? 0 : self->how == PANICS ? CRT_EPANIC : CRT_ECANCELED);
    CRT_FINALLY
        crt_detach(&self->join);
        crt_close(&self->b);
    CRT_END;
}
static void what_a_poll_by_hand_left_parked_is_gone_in_the_cleanup(void)
{
    for (int writes = 0; writes < 2; writes++)
        for (int how = 0; how < HOWS; how++) {
            crt_runtime *rt = paused();
            hands r = {.how = how, .writes = writes};
            CHECK_EQ(crt_block_on(rt, unwinds_run, &r), 0);
            dropped(rt);
        }
}

// ---- a select that is polled 2^32 times ---------------------------------------------------------------------

typedef struct rounds {
    crt_frame co;
    CRT_SELECT(2) sel;
    crt_poll a, b;
} rounds;
static crt_poll rounds_run(void *frame, crt_cx *cx)
{
    enum { LAST = 8 };
    rounds *self = frame;
    for (int joins = 0; joins < 2; joins++) {
        crt_poll r = CRT_PENDING;
        int i = 0;
        for (; i <= LAST && r == CRT_PENDING; i++) {
            crt_poll arm = i < LAST ? CRT_PENDING : 0;
            r = joins ? crt_join_all(cx, &self->sel, crt_on(cx, 0, self->a = arm), crt_on(cx, 1, self->b = arm))
                      : crt_select(cx, &self->sel, crt_on(cx, 0, self->a = arm), crt_on(cx, 1, self->b = arm));
            if (i == 0) self->sel.crt__head.serial = UINT32_MAX - 2;
        }
        CHECK_EQ(i, LAST + 1);
        CHECK(r == 0 || (r == 1 && !joins));
    }
    return 0;
}
static void a_select_is_polled_as_often_as_need_be(void)
{
    crt_runtime *rt = runtime(0);
    rounds r = {.a = 0};
    CHECK_EQ(crt_block_on(rt, rounds_run, &r), 0);
    dropped(rt);
}

// ---- a background task that is always ready ------------------------------------------------------------------

enum { MANY_POLLS = 100000 };
static crt_poll always_run(void *frame, crt_cx *cx)
{
    (void)frame;
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    if (GET(stop) || __atomic_add_fetch(&ran, 1, __ATOMIC_SEQ_CST) >= MANY_POLLS) return 0;
    crt_waker w = crt_waker_clone(cx);
    crt_wake(&w);
    return CRT_PENDING;
}
static crt_poll normal_run(void *frame, crt_cx *cx)
{
    waits *self = frame;
    CRT_BEGIN(self, cx);
    for (self->who = 0; self->who < 100; self->who++) CRT_YIELD();
    SET(stop, 1);
    CRT_END;
}
static crt_poll beside_run(void *frame, crt_cx *cx)
{
    waits *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_ex(cx, &(crt_task_desc){.fn = always_run, .priority = -1}), 0);
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], normal_run, &(waits){.who = 0}), 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->join[0], NULL));
    CHECK_EQ(self->r, 0);
    CRT_END;
}
static void a_background_task_does_not_starve_the_others(void)
{
    for (int i = 0; i < 6; i++) {
        crt_runtime *rt = built((crt_config){.flavor = i & 1 ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD,
                                             .worker_threads = 1, .global_queue_interval = i / 2, COUNTED});
        waits r = {.who = 0};
        SET(stop, 0);
        SET(ran, 0);
        CHECK_EQ(crt_block_on(rt, beside_run, &r), 0);
        CHECK(GET(ran) < MANY_POLLS / 10);
        dropped(rt);
    }
}

// ---- the virtual clock and other threads ---------------------------------------------------------------------

#ifdef STEPS_IN
static void *advances(void *rt)
{
    CHECK_EQ(crt_time_advance(rt, CRT_SEC(10)), 0);
    return NULL;
}
static void another_advances(void)
{
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, advances, driven), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}
static crt_poll overtaken_run(void *frame, crt_cx *cx)
{
    waits *self = frame;
    CRT_BEGIN(self, cx);
    self->began = crt_now(cx);
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(1)));
    CHECK_EQ((crt_now(cx) - self->began) / 1000000000, self->after / 1000000000);
    CRT_END;
}
static void an_advance_from_another_thread_is_not_lost(void)
{
    crt_runtime *rt = driven = paused();
    waits r = {.after = CRT_SEC(10)}, after = {.after = CRT_SEC(1)};
    // The clock jumps by a second, and just before it does somebody advances it by ten.
    meanwhile.word = &rt->clock_offset;
    meanwhile.act = another_advances;
    CHECK_EQ(crt_block_on(rt, overtaken_run, &r), 0);
    CHECK(!meanwhile.act);
    CHECK_EQ(crt_block_on(rt, overtaken_run, &after), 0);
    crt_instant began = crt__atomic_load(&rt->clock_offset, CRT__ACQUIRE);
    meanwhile.act = another_advances;
    CHECK_EQ(crt_time_advance(rt, CRT_SEC(5)), 0);
    CHECK(!meanwhile.act);
    CHECK_EQ((crt__atomic_load(&rt->clock_offset, CRT__ACQUIRE) - began) / 1000000000, 15);
    dropped(rt);
}
#endif

static crt_poll long_sleep_run(void *frame, crt_cx *cx)
{
    crt_frame *self = frame;
    CRT_BEGIN(self, cx);
    SET(polls, 1);
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(1000)));
    SET(over, 1);
    CRT_END;
}
static void *sleeps(void *rt)
{
    CHECK_EQ(crt_block_on(rt, long_sleep_run, &(crt_frame){0}), 0);
    return NULL;
}
static bool is_parked(crt_runtime *rt)
{
    crt_worker_metrics m;
    CHECK_EQ(crt_metrics_worker(rt, 0, &m), 0);
    return m.park_unpark_count & 1;
}
static void a_pause_reaches_a_driver_that_waits(void)
{
    crt_runtime *rt = runtime(0);
    pthread_t thread;
    SET(polls, 0);
    SET(over, 0);
    CHECK_EQ(pthread_create(&thread, NULL, sleeps, rt), 0);
    SOON(GET(polls) && is_parked(rt));
    CHECK(is_parked(rt));
    CHECK_EQ(crt_time_pause(rt), 0);
    SOON(GET(over));
    CHECK(GET(over));
    if (!GET(over)) CHECK_EQ(crt_time_advance(rt, CRT_SEC(1000)), 0);   // and so it ends
    CHECK_EQ(pthread_join(thread, NULL), 0);
    dropped(rt);
}

// ---- what a dump says of a timer --------------------------------------------------------------------------------

typedef struct timed {
    crt_frame co;
    crt_timer timer;
} timed;
static crt_poll timed_run(void *frame, crt_cx *cx)
{
    timed *self = frame;
    CRT_BEGIN(self, cx);
    crt_timer_reset(cx, &self->timer, CRT_SEC(1000));
    CRT_AWAIT(crt_timer_wait(cx, &self->timer));
    CRT_END;
}
static void a_dump_says_that_a_timer_sleeps(void)
{
    crt_runtime *rt = runtime(0);
    crt_handle *h = crt_runtime_handle(rt);
    int n = 0;
    CHECK_EQ(crt_handle_spawn(h, timed_run, &(timed){.co = {0}}), 0);
    CHECK_EQ(crt_runtime_turn(rt, 0), 1);
    char *text = test_dump(rt, &n);
    CHECK_EQ(n, 1);
    CHECK(strstr(text, "waits for sleep"));
    free(text);
    crt_handle_drop(&h);
    dropped(rt);
}

// ---- a shutdown whose deadline passes while the driver is in a poll ---------------------------------------------

enum { CLEANERS = 50 };
static int cleaned;   // atomic
static crt_poll cleaner_run(void *frame, crt_cx *cx)
{
    crt_frame *self = frame;
    CRT_BEGIN(self, cx);
    __atomic_fetch_add(&ran, 1, __ATOMIC_SEQ_CST);
    CRT_AWAIT(crt_notified(cx, &never));
    CRT_FINALLY
        __atomic_fetch_add(&cleaned, 1, __ATOMIC_SEQ_CST);
    CRT_END;
}
static crt_poll outlasts_run(void *frame, crt_cx *cx)
{
    crt_frame *self = frame;
    CRT_BEGIN(self, cx);
    while (GET(ran) < CLEANERS) CRT_YIELD();
    SET(polls, 1);
    while (!crt__stopping(driven)) test_pause_us(100);   // in one poll, until the deadline has passed
    CRT_AWAIT(crt_notified(cx, &never));
    CRT_END;
}
static void *drives_beyond(void *how)
{
    if (*(int *)how == BLOCKS_ON) CHECK_EQ(crt_block_on(driven, outlasts_run, &(crt_frame){0}), CRT_ECANCELED);
    else while (!GET(polls)) CHECK(crt_runtime_turn(driven, CRT_FOREVER) > 0);
    return NULL;
}
static int left_by(int how, crt_duration timeout)
{
    crt_runtime *rt = driven = runtime(0);
    crt_handle *h = crt_runtime_handle(rt);
    pthread_t thread;
    SET(polls, 0);
    SET(ran, 0);
    SET(cleaned, 0);
    for (int i = 0; i < CLEANERS; i++) CHECK_EQ(crt_handle_spawn(h, cleaner_run, &(crt_frame){0}), 0);
    if (how == TURNS) CHECK_EQ(crt_handle_spawn(h, outlasts_run, &(crt_frame){0}), 0);
    CHECK_EQ(pthread_create(&thread, NULL, drives_beyond, &how), 0);
    while (!GET(polls)) test_pause_us(100);
    int left = crt_runtime_shutdown(rt, timeout);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(GET(cleaned), CLEANERS);
    crt_handle_drop(&h);
    dropped(rt);
    return left;
}
static void a_driver_that_leaves_its_poll_too_late_begins_each_cleanup(void)
{
    for (int how = 0; how < DRIVERS; how++)
        for (int ms = 0; ms < 2; ms++) {
            int left = 1;
            // It has 100 ms, which may be too little on a busy machine.
            for (int tries = 5; tries && left; tries--) left = left_by(how, CRT_MS(ms));
            CHECK_EQ(left, 0);
        }
}

// ---- a scope in the frame of a crt_block_on that a shutdown ends by force ----------------------------------------

enum { WORKS = 8 };
static uint64_t blocked_id;
static int blocked_over, frame_gone;   // atomic
typedef struct works {
    crt_frame co;
    crt_notify *notify;
} works;
static crt_poll works_run(void *frame, crt_cx *cx)
{
    works *self = frame;
    CRT_BEGIN(self, cx);
    if (!self->notify) CRT_RETURN(0);
    __atomic_fetch_add(&ran, 1, __ATOMIC_SEQ_CST);
    CRT_AWAIT(crt_notified(cx, self->notify));
    CRT_FINALLY
        if (self->notify) CRT_AWAIT(crt_notified(cx, self->notify));
    CRT_END;
}
typedef struct blocked {
    crt_frame co;
    crt_scope scope;
    crt_notify notify;
    bool warms_up;
    int spawned;
} blocked;
static crt_poll spawns_works(blocked *self, crt_cx *cx)
{
    works w = {.notify = self->warms_up ? NULL : &self->notify};
    for (; self->spawned < WORKS; self->spawned++) CHECK_EQ(crt_scope_spawn(cx, &self->scope, works_run, &w), 0);
    return 0;
}
static crt_poll blocked_run(void *frame, crt_cx *cx)
{
    blocked *self = frame;
    CRT_BEGIN(self, cx);
    blocked_id = crt_task_id(cx);
    CRT_AWAIT(crt_scope_run(cx, &self->scope, spawns_works(self, cx)));
    CRT_END;
}
static void terminates(void *data, const crt_task_meta *meta)
{
    (void)data;
    if (!GET(ran)) return;   // the warm-up
    if (meta->id == blocked_id) SET(blocked_over, 1);
    else CHECK(!GET(blocked_over));
    if (meta->id != blocked_id && GET(blocked_over)) SOON(GET(frame_gone));
}
static void *blocks_on_heap(void *h)
{
    blocked *f = calloc(1, sizeof *f);
    CHECK(f != NULL);
    if (!f) return NULL;
    CHECK_EQ(crt_handle_block_on(h, blocked_run, f), CRT_ECANCELED);
    memset(f, 0xff, sizeof *f);
    free(f);
    SET(frame_gone, 1);
    return NULL;
}
static void a_block_on_ends_after_the_tasks_of_its_scope(void)
{
    crt_runtime *rt = built((crt_config){.worker_threads = 1, .on_task_terminate = terminates, COUNTED});
    crt_handle *h = crt_runtime_handle(rt);
    crt_join_handle *join;
    pthread_t thread;
    SET(ran, 0);
    SET(blocked_over, 0);
    SET(frame_gone, 0);
    // The memory of the tasks comes first, then that of crt_block_on: what is newer is met first.
    CHECK_EQ(crt_handle_spawn_join(h, &join, blocked_run, &(blocked){.warms_up = true}), 0);
    CHECK_EQ(crt_join_blocking(&join, NULL), 0);
    CHECK_EQ(pthread_create(&thread, NULL, blocks_on_heap, h), 0);
    while (GET(ran) < WORKS) test_pause_us(100);
    CHECK_EQ(crt_runtime_shutdown(rt, CRT_MS(1)), WORKS + 1);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    crt_handle_drop(&h);
    dropped(rt);
}

static int body_may_go;   // atomic
static intptr_t until_the_end_of_another(void *arg)
{
    while (!GET(body_may_go)) test_pause_us(100);
    return (intptr_t)arg;
}
static void lets_the_body_go(void *data, const crt_task_meta *meta)
{
    (void)data;
    if (!GET(ran)) return;   // the warm-up
    if (meta->id == blocked_id) {
        SET(blocked_over, 1);
        return;
    }
    // The first one pauses, in which a root that does not wait is over; if all did the shutdown might not wait for it.
    if (!__atomic_exchange_n(&body_may_go, 1, __ATOMIC_SEQ_CST)) test_pause_us(20000);
    CHECK(!GET(blocked_over));
}
static crt_poll spawns_and_blocks(blocked *self, crt_cx *cx)
{
    if (spawns_works(self, cx) == 0 && !self->warms_up) {
        CHECK_EQ(crt_block_in_place(cx, until_the_end_of_another, NULL), 0);
        self->warms_up = true;
    }
    return 0;
}
static crt_poll blocked_in_place_run(void *frame, crt_cx *cx)
{
    blocked *self = frame;
    CRT_BEGIN(self, cx);
    blocked_id = crt_task_id(cx);
    CRT_AWAIT(crt_scope_run(cx, &self->scope, spawns_and_blocks(self, cx)));
    CRT_END;
}
static void *blocks_in_place_on_heap(void *h)
{
    blocked *f = calloc(1, sizeof *f);
    CHECK(f != NULL);
    if (!f) return NULL;
    CHECK_EQ(crt_handle_block_on(h, blocked_in_place_run, f), CRT_ECANCELED);
    memset(f, 0xff, sizeof *f);
    free(f);
    return NULL;
}
static void a_block_on_that_blocks_in_place_ends_after_the_tasks_of_its_scope(void)
{
    crt_runtime *rt = built((crt_config){.worker_threads = 1, .on_task_terminate = lets_the_body_go, COUNTED});
    crt_handle *h = crt_runtime_handle(rt);
    pthread_t thread;
    SET(ran, 0);
    SET(blocked_over, 0);
    SET(body_may_go, 0);
    CHECK_EQ(pthread_create(&thread, NULL, blocks_in_place_on_heap, h), 0);
    while (GET(ran) < WORKS) test_pause_us(100);
    CHECK_EQ(crt_runtime_shutdown(rt, CRT_MS(1)), WORKS + 1);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK(GET(blocked_over));
    crt_handle_drop(&h);
    dropped(rt);
}

// ---- what a dump has in its hands at a forced end ----------------------------------------------------

static crt_runtime *looked_at;
static int left_meanwhile;
static void ends_meanwhile(void) { left_meanwhile = crt_runtime_shutdown(looked_at, CRT_MS(1)); }
static void what_a_dump_looks_at_is_counted_at_a_forced_end(void)
{
    FILE *out = tmpfile();
    CHECK(out != NULL);
    if (!out) return;
    for (int workers = 0; workers < 2; workers++) {
        looked_at = runtime(workers);
        crt_handle *h = crt_runtime_handle(looked_at);
        crt_join_handle *join;
        CHECK_EQ(crt_handle_spawn_join(h, &join, works_run, &(works){.notify = &never}), 0);
        if (!workers) (void)crt_runtime_turn(looked_at, 0);
        SOON(crt__sits_idle(crt__atomic_load(&crt__joined(join)->state, CRT__ACQUIRE)));
        left_meanwhile = -1;
        before_text = ends_meanwhile;
        CHECK_EQ(crt_dump(looked_at, out), 1);
        CHECK(!before_text);
        CHECK_EQ(left_meanwhile, 1);
        CHECK_EQ(crt_join_blocking(&join, NULL), CRT_ECANCELED);
        crt_handle_drop(&h);
        dropped(looked_at);
    }
    fclose(out);
}

// ---- a drop of the runtime by what a task leaves -----------------------------------------------------

static const crt_task_local leaves_key = {0};
static crt_runtime *dropped_within;
static void drops_it(void *times)
{
    crt_runtime *rt = dropped_within;
    crt_runtime_drop(&rt);   // waits for itself, or is refused
    CHECK(rt == dropped_within);
    ++*(int *)times;
}
typedef struct leaver {
    crt_frame co;
    int *times;
} leaver;
static crt_poll leaver_run(void *frame, crt_cx *cx)
{
    leaver *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_task_local_set(cx, &leaves_key, self->times, drops_it), 0);
    __atomic_fetch_add(&ran, 1, __ATOMIC_SEQ_CST);
    CRT_AWAIT(crt_notified(cx, &never));
    CRT_FINALLY
        CRT_AWAIT(crt_notified(cx, &never));
    CRT_END;
}
// While a dump has it the end passes by, and who dumps ends it.
static void a_drop_by_what_a_task_leaves_is_refused_at_a_late_end(void)
{
    FILE *out = tmpfile();
    CHECK(out != NULL);
    if (!out) return;
    dropped_within = looked_at = runtime(1);
    crt_handle *h = crt_runtime_handle(looked_at);
    crt_join_handle *join;
    int times = 0;
    CHECK_EQ(crt_handle_spawn_join(h, &join, leaver_run, &(leaver){.times = &times}), 0);
    SOON(crt__sits_idle(crt__atomic_load(&crt__joined(join)->state, CRT__ACQUIRE)));
    before_text = ends_meanwhile;
    CHECK_EQ(crt_dump(looked_at, out), 1);
    CHECK_EQ(left_meanwhile, 1);
    CHECK_EQ(times, 1);
    CHECK(test_log_has("they are refused inside a task"));
    crt_detach(&join);
    crt_handle_drop(&h);
    dropped(looked_at);
    fclose(out);
}
static void a_drop_by_what_a_task_leaves_is_refused_at_a_forced_end(void)
{
    for (int workers = 0; workers < 2; workers++) {
        dropped_within = runtime(workers);
        crt_handle *h = crt_runtime_handle(dropped_within);
        int times = 0;
        SET(ran, 0);
        CHECK_EQ(crt_handle_spawn(h, leaver_run, &(leaver){.times = &times}), 0);
        if (!workers) (void)crt_runtime_turn(dropped_within, 0);
        while (!GET(ran)) test_pause_us(100);
        CHECK_EQ(crt_runtime_shutdown(dropped_within, CRT_MS(1)), 1);
        CHECK_EQ(times, 1);
        CHECK(test_log_has("they are refused inside a task"));
        crt_handle_drop(&h);
        dropped(dropped_within);
    }
}

// ---- what a shutdown without time says is left -----------------------------------------------------------------

enum { ALONE, TASKS, A_JOB, SCENES };
typedef struct scene {
    crt_frame co;
    int which, i;
    crt_join_handle *join;
} scene;
static intptr_t short_job(void *arg) { return (intptr_t)arg; }
static crt_poll scene_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->which != ALONE && self->i < 3; self->i++) {
        if (self->which == TASKS) CHECK_EQ(crt_spawn_join(cx, &self->join, nothing_run, &(crt_frame){0}), 0);
        else CHECK_EQ(crt_spawn_blocking(cx, &self->join, short_job, NULL), 0);
        CRT_AWAIT(crt_join(cx, &self->join, NULL));
    }
    CRT_END;
}
static void a_shutdown_without_time_counts_what_has_not_ended(void)
{
    int wrong = 0;
    for (int i = 0; i < 600; i++) {
        crt_runtime *rt = runtime(i & 1 ? 2 : 0);
        scene r = {.which = i / 2 % SCENES};
        CHECK_EQ(crt_block_on(rt, scene_run, &r), 0);
        wrong += crt_runtime_shutdown(rt, 0) != 0;
        crt_runtime_drop(&rt);
    }
    CHECK_EQ(wrong, 0);
    test_all_freed();
    wrong = 0;
    for (int i = 0; i < 100; i++) {
        crt_runtime *rt = runtime(2);
        crt_handle *h = crt_runtime_handle(rt);
        scene r = {.which = i % SCENES};
        SET(polls, 0);
        SET(over, 0);
        CHECK_EQ(crt_handle_spawn(h, stuck_run, &(crt_frame){0}), 0);
        while (!GET(polls)) test_pause_us(100);
        CHECK_EQ(crt_block_on(rt, scene_run, &r), 0);
        wrong += crt_runtime_shutdown(rt, 0) != 1;
        SET(over, 1);
        crt_handle_drop(&h);
        dropped(rt);
    }
    CHECK_EQ(wrong, 0);
}

#ifdef STEPS_IN
static void worker_gets_there_first(void)   // before the count looks at the tasks
{
    SET(over, 1);
    while (!crt__atomic_load(&driven->shutdown_done, CRT__ACQUIRE)) test_pause_us(100);
}
static void deadline_has_passed(void)
{
    meanwhile.word = &driven->slab_lock;
    meanwhile.act = worker_gets_there_first;
}
static void what_is_ended_by_force_meanwhile_is_counted(void)
{
    driven = runtime(1);
    crt_handle *h = crt_runtime_handle(driven);
    SET(polls, 0);
    SET(over, 0);
    CHECK_EQ(crt_handle_spawn(h, stuck_run, &(crt_frame){0}), 0);
    while (!GET(polls)) test_pause_us(100);
    meanwhile.word = &driven->stop;
    meanwhile.act = deadline_has_passed;
    CHECK_EQ(crt_runtime_shutdown(driven, 0), 1);
    CHECK(test_log_has("did not end in time"));
    meanwhile.act = NULL;
    SET(over, 1);
    crt_handle_drop(&h);
    dropped(driven);
}
#endif

// ---- crt_shutdown without budget -------------------------------------------------------------------------------

typedef struct ends {
    crt_frame co;
    crt_stream *a, *b;
    crt_timer timer;
    char got[8];
    crt_poll r;
} ends;
static crt_poll ends_run(void *frame, crt_cx *cx)
{
    ends *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    cx->budget = 0;
    (void)crt_shutdown(cx, self->a);   // it does not wait, so nobody awaits it
    CRT_YIELD();
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC((int)test_patience(5)),
                                    crt_read(cx, self->b, self->got, sizeof self->got)));
    CHECK_EQ(self->r, 0);
    CRT_FINALLY
        crt_close(&self->a);
        crt_close(&self->b);
    CRT_END;
}
static void a_stream_is_shut_down_without_budget_too(void)
{
    crt_runtime *rt = runtime(0);
    ends r = {.r = 0};
    CHECK_EQ(crt_block_on(rt, ends_run, &r), 0);
    dropped(rt);
}

// ---- spawns that are refused ------------------------------------------------------------------------------------

static int starved;
static void *starved_alloc(size_t n, void *user) { return starved ? NULL : test_counted_alloc(n, user); }
static struct { char room[1 << 20]; } vast;
static void a_refused_spawn_is_not_counted(void)
{
    crt_runtime *rt = built((crt_config){.flavor = CRT_CURRENT_THREAD, .log = {.func = test_log},
                                         .allocator = {starved_alloc, test_counted_free, NULL}});
    crt_handle *h = crt_runtime_handle(rt);
    static CRT_TASK_STORAGE(crt_frame) room;
    crt_task_desc d = {.fn = nothing_run, .size = sizeof(crt_frame), .handle = h,
                       .storage = &room, .storage_size = sizeof room};
    crt_runtime_metrics m;
    CHECK_EQ(crt_spawn_ex(NULL, &d), 0);
    for (int i = 0; i < 3; i++) CHECK_EQ(crt_spawn_ex(NULL, &d), CRT_EBUSY);
    starved = 1;
    CHECK_EQ(crt_handle_spawn(h, nothing_run, &vast), CRT_ENOMEM);
    starved = 0;
    crt_join_handle *none = (crt_join_handle *)(uintptr_t)16;
    CHECK_EQ(crt_spawn_ex(NULL, &(crt_task_desc){.fn = nothing_run, .size = SIZE_MAX, .handle = h, .join = &none}),
             CRT_EINVAL);
    CHECK(!none);
    crt_metrics(rt, &m);
    CHECK_EQ(m.spawned_tasks_count, 1);
    CHECK_EQ(m.num_alive_tasks, 1);
    CHECK_EQ(crt_runtime_turn(rt, 0), 1);
    crt_metrics(rt, &m);
    CHECK_EQ(m.num_alive_tasks, 0);
    crt_handle_drop(&h);
    dropped(rt);
}

// ---- a task that panics twice -----------------------------------------------------------------------------------

static crt_poll twice_run(void *frame, crt_cx *cx)
{
    crt_frame *self = frame;
    CRT_BEGIN(self, cx);
    CRT_PANIC(cx, "the first");
    CRT_FINALLY
        CRT_PANIC(cx, "the second");
    CRT_END;
}
static crt_poll twice_by_hand_run(void *frame, crt_cx *cx)
{
    (void)frame;
    (void)crt_panic(cx, "the first");
    return crt_panic(cx, "the second");
}
static void a_second_panic_is_logged_and_the_join_tells_of_the_first(void)
{
    for (int i = 0; i < 2; i++) {
        crt_runtime *rt = built((crt_config){.flavor = CRT_CURRENT_THREAD, .allocator = TEST_COUNTED,
                                             .log = {.func = test_log, .level = CRT_LOG_DEBUG}});
        crt_handle *h = crt_runtime_handle(rt);
        crt_join_handle *join;
        test_log_clear();
        CHECK_EQ(crt_handle_spawn_join(h, &join, i ? twice_run : twice_by_hand_run, &(crt_frame){0}), 0);
        CHECK_EQ(crt_runtime_turn(rt, 0), 1);
        CHECK_EQ(crt_join_blocking(&join, NULL), CRT_EPANIC);
        CHECK(strstr(crt_join_panic_message(join), "the first"));
        CHECK(test_log_has("the first") && test_log_has("the second"));
        crt_detach(&join);
        crt_handle_drop(&h);
        dropped(rt);
    }
}

// ---- a coroutine that is cancelled before it begins, in the place of a sleep ------------------------------------

typedef struct late {
    crt_frame co;
    crt_instant began;
} late;
static crt_poll late_run(void *frame, crt_cx *cx)
{
    late *self = frame;
    CRT_BEGIN(self, cx);
    CRT_FINALLY
        self->began = crt_now(cx);
        CRT_AWAIT(crt_sleep(cx, CRT_MS(10)));
        CHECK_EQ((crt_now(cx) - self->began) / 1000000, 10);
    CRT_END;
}
typedef struct swapped {
    int polls;
    late c;
} swapped;
static crt_poll swapped_run(void *frame, crt_cx *cx)
{
    swapped *self = frame;
    return self->polls++ ? late_run(&self->c, cx) : crt_sleep(cx, CRT_SEC(2));
}
typedef struct swaps {
    crt_frame co;
    crt_join_handle *join;
    crt_poll r;
} swaps;
static crt_poll swaps_run(void *frame, crt_cx *cx)
{
    swaps *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_join(cx, &self->join, swapped_run, &(swapped){.polls = 0}), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(10)));
    crt_abort(self->join);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK_EQ(self->r, CRT_ECANCELED);
    CRT_END;
}
static void what_is_cancelled_before_it_begins_waits_anew(void)
{
    crt_runtime *rt = paused();
    CHECK_EQ(crt_block_on(rt, swaps_run, &(swaps){.r = 0}), 0);
    dropped(rt);
}

// ---- a cleanup at the end of the runtime may still use the pool ----------------------------------------

typedef struct keeper {
    crt_frame co;
    char path[80];
    crt_poll r;
    crt_file *f;
    crt_handle *h;
    crt_join_handle *join;
    int *saved;
} keeper;
static const crt_fs_open_desc opens = {.write = true, .create = true};
static intptr_t seven(void *arg) { return (void)arg, 7; }
static crt_poll keeper_run(void *frame, crt_cx *cx)
{
    keeper *self = frame;
    CRT_BEGIN(self, cx);
    SET(ran, 1);
    CRT_AWAIT(crt_notified(cx, &never));
    CRT_FINALLY
        CRT_AWAIT(self->r = crt_fs_open(cx, self->path, &opens, &self->f));
        CHECK_EQ(self->r, 0);
        CRT_AWAIT(self->r = crt_file_write_all(cx, self->f, "state", 5));
        CHECK_EQ(self->r, 5);
        CRT_AWAIT(self->r = crt_file_sync(cx, self->f));
        CHECK_EQ(self->r, 0);
        crt_close(&self->f);
        CRT_AWAIT(self->r = crt_fs_remove_file(cx, self->path));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(crt_spawn_blocking(cx, &self->join, seven, NULL), 0);
        CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(crt_handle_spawn(self->h, nothing_run, &(crt_frame){0}), CRT_ESHUTDOWN);
        crt_handle_drop(&self->h);
        *self->saved = 1;
    CRT_END;
}
static void a_cleanup_writes_a_file_while_the_runtime_ends(void)
{
    for (int workers = 0; workers < 3; workers++) {
        crt_runtime *rt = runtime(workers);
        crt_handle *h = crt_runtime_handle(rt);
        crt_join_handle *refused;
        int saved = 0;
        keeper k = {.h = crt_handle_clone(h), .saved = &saved};
        snprintf(k.path, sizeof k.path, "/tmp/crt-keeper-%d-%d", (int)getpid(), workers);
        SET(ran, 0);
        CHECK_EQ(crt_handle_spawn(h, keeper_run, &k), 0);
        if (!workers) (void)crt_runtime_turn(rt, 0);
        while (!GET(ran)) test_pause_us(100);
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_FOREVER), 0);
        CHECK_EQ(saved, 1);
        CHECK_EQ(crt_handle_spawn_blocking(h, &refused, seven, NULL), CRT_ESHUTDOWN);
        crt_handle_drop(&h);
        dropped(rt);
    }
}

// ---- one select, or one timer, inside itself -----------------------------------------------------------

typedef struct within {
    crt_frame co;
    CRT_SELECT(2) sel;
    crt_timer timer;
    crt_poll r, inner, a;
    bool refused;
    crt_instant began;
} within;
static crt_poll within_run(void *frame, crt_cx *cx)
{
    within *self = frame;
    CRT_BEGIN(self, cx);
    self->a = CRT_PENDING;
    CRT_AWAIT(self->r = crt_select(cx, &self->sel,
        crt_on(cx, 0, self->inner = crt_select(cx, &self->sel,
            crt_on(cx, 0, self->a = crt_sleep(cx, CRT_MS(10))), crt_on(cx, 1, crt_sleep(cx, CRT_MS(20))))),
        crt_on(cx, 1, crt_sleep(cx, CRT_MS(100)))));
    CHECK_EQ(self->r, 0);   // the arm has ended, with an error
    CHECK_EQ(self->inner, CRT_EINVAL);
    CHECK_EQ(self->a, CRT_PENDING);
    CHECK(test_log_has("used inside itself"));
    self->began = crt_now(cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(100),
        self->inner = crt_timeout(cx, &self->timer, CRT_MS(20), self->a = crt_sleep(cx, CRT_SEC(5)))));
    CHECK_EQ(self->r, CRT_EINVAL);
    CHECK_EQ(self->inner, CRT_EINVAL);
    CHECK_EQ(self->a, CRT_PENDING);
    CHECK_EQ(crt_now(cx) - self->began, 0);
    CHECK(test_log_has("a crt_timer is used inside its own"));
    test_log_clear();
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(10),
        (crt_timer_reset(cx, &self->timer, CRT_MS(1)), crt_timer_reset_at(cx, &self->timer, 0), crt_sleep(cx, CRT_SEC(5)))));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK(test_log_has("while a crt_timeout uses it"));
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(10), crt_timer_wait(cx, &self->timer)));
    CHECK_EQ(self->r, CRT_EINVAL);
    // One that is awaited has its place in the wheel.
    crt_timer_reset(cx, &self->timer, CRT_MS(5));
    self->began = crt_now(cx);
    CRT_AWAIT(self->r = crt_select_biased(cx, &self->sel, crt_on(cx, 0, self->a = crt_timer_wait(cx, &self->timer)),
        crt_on(cx, 1, (self->inner = crt_timeout(cx, &self->timer, CRT_MS(1), crt_sleep(cx, CRT_SEC(5)))) == CRT_EINVAL
                          ? (self->refused = true, CRT_PENDING) : self->inner)));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->a, 0);
    CHECK(self->refused);
    CHECK_EQ(crt_now(cx) - self->began, CRT_MS(5));
    CHECK(test_log_has("was given a crt_timer that is awaited"));
    // One after the other, and one within another's, are as before.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(10), crt_sleep(cx, CRT_SEC(5))));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CRT_AWAIT(self->r = crt_select(cx, &self->sel, crt_on(cx, 0, crt_sleep(cx, CRT_MS(10))),
                                   crt_on(cx, 1, crt_sleep(cx, CRT_MS(20)))));
    CHECK_EQ(self->r, 0);
    CRT_END;
}
static void a_select_or_timer_inside_itself_is_refused(void)
{
    crt_runtime *rt = paused();
    CHECK_EQ(crt_block_on(rt, within_run, &(within){.r = 0}), 0);
    dropped(rt);
}

// ---- whose turn it is, while the injection queue is never empty ------------------------------------------------

static crt_notify tells[8];
static int polled[2], victim_at;   // atomic: ordinary ones and those of a local set
typedef struct teller {
    crt_frame co;
    int me, next, kind;
    bool has_victim;
    crt_poll r;
} teller;
static crt_poll victim_run(void *frame, crt_cx *cx)
{
    (void)frame, (void)cx;
    SET(victim_at, GET(ran));
    SET(stop, 1);
    return 0;
}
// Wakes another, which wakes it: one of them is always ready.
static crt_poll teller_run(void *frame, crt_cx *cx)
{
    teller *self = frame;
    CRT_BEGIN(self, cx);
    while (!GET(stop) && GET(ran) < INJECTED) {
        CRT_AWAIT(self->r = crt_notified(cx, &tells[self->me]));
        // The LIFO slot is the next one's: the victim goes to the queue.
        if (__atomic_add_fetch(&polled[self->kind], 1, __ATOMIC_SEQ_CST) == 20 && self->has_victim)
            CHECK_EQ(crt_spawn(cx, victim_run, &(crt_frame){0}), 0);
        crt_notify_one(&tells[self->next]);
    }
    crt_notify_one(&tells[self->next]);
    CRT_END;
}
typedef struct turns {
    crt_frame co;
    crt_local_set set;
    int i;
    bool local;
} turns;
static crt_poll turns_run(void *frame, crt_cx *cx)
{
    turns *self = frame;
    CRT_BEGIN(self, cx);
    if (self->local) {
        for (int i = 0; i < 8; i++) {
            teller t = {.me = i, .next = i & 4 ? i ^ 1 : (i + 1) % 4, .kind = i / 4};
            if (i & 4) CHECK_EQ(crt_local_set_spawn(cx, &self->set, teller_run, &t), 0);
            else CHECK_EQ(crt_spawn(cx, teller_run, &t), 0);
        }
        for (int i = 0; i < 8; i += 2) crt_notify_one(&tells[i]);
    } else {
        for (int i = 0; i < 2; i++) CHECK_EQ(crt_spawn(cx, teller_run, &(teller){.me = i, .next = 1 - i, .has_victim = true}), 0);
        crt_notify_one(&tells[0]);
    }
    while (!GET(go)) test_pause_us(100);
    CRT_AWAIT(crt_local_set_join(cx, &self->set));
    CRT_END;
}
// On the one worker, with so many tasks injected meanwhile.
static void take_turns(crt_config c, bool local)
{
    c.worker_threads = 1;
    crt_runtime *rt = built(c);
    crt_handle *h = crt_runtime_handle(rt);
    SET(ran, 0);
    SET(stop, 0);
    SET(go, 0);
    SET(victim_at, INJECTED);
    SET(polled[0], 0);
    SET(polled[1], 0);
    memset(tells, 0, sizeof tells);
    CHECK_EQ(crt_handle_spawn(h, turns_run, &(turns){.local = local}), 0);
    for (int i = 0; i < INJECTED; i++) CHECK_EQ(crt_handle_spawn(h, counts_run, &(crt_frame){0}), 0);
    SET(go, 1);
    SOON(GET(ran) == INJECTED && (local || GET(stop)));
    crt_handle_drop(&h);
    dropped(rt);
}
static void a_pair_in_the_lifo_slot_does_not_starve_the_others(void)
{
    for (int interval = 1; interval < 5; interval++) {
        take_turns((crt_config){.global_queue_interval = interval == 1 ? 61 : interval, COUNTED}, false);
        CHECK(GET(victim_at) < 500);
    }
}
static void pinned_and_ordinary_tasks_take_turns_at_any_interval(void)
{
    for (int interval = 2; interval < 6; interval++) {
        take_turns((crt_config){.global_queue_interval = interval, .disable_lifo_slot = true, COUNTED}, true);
        CHECK(GET(polled[0]) > 100);
        CHECK(GET(polled[1]) > 100);
    }
}

// ---- background tasks beside one that yields ---------------------------------------------------------------------

static crt_poll ever_yields_run(void *frame, crt_cx *cx)
{
    waits *self = frame;
    CRT_BEGIN(self, cx);
    while (!GET(stop) && GET(ran) < MANY_POLLS) {
        __atomic_fetch_add(&ran, 1, __ATOMIC_SEQ_CST);
        CRT_YIELD();
    }
    CRT_END;
}
static crt_poll beside_many_run(void *frame, crt_cx *cx)
{
    waits *self = frame;
    CRT_BEGIN(self, cx);
    for (int i = 0; i < 16; i++) {
        crt_task_desc d = {.fn = ever_yields_run, .size = sizeof(waits), .priority = -1};
        CHECK_EQ(crt_spawn_ex(cx, &d), 0);
    }
    for (; self->who < 1000; self->who++) CRT_YIELD();
    SET(stop, 1);
    CRT_END;
}
static void the_background_waits_for_who_yields(void)
{
    for (int workers = 0; workers < 2; workers++) {
        crt_runtime *rt = built((crt_config){.flavor = workers ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD,
                                             .worker_threads = workers, .global_queue_interval = 31, COUNTED});
        SET(stop, 0);
        SET(ran, 0);
        CHECK_EQ(crt_block_on(rt, beside_many_run, &(waits){.who = 0}), 0);
        CHECK(GET(ran) > 0);
        CHECK(GET(ran) < 40);   // one at each 31st poll, of either kind of runtime: what counts is polls, not looks
        dropped(rt);
    }
}

// ---- what is dropped at the end of a task that gave its worker away ----------------------------------------------

static crt_task_local left_here = {"left here"};
static crt_join_handle *lasting;
static int what_it_said;
static void waits_in_a_drop(void *rt)
{
    bool free_ = crt__try_lock(&((crt_runtime *)rt)->walk_lock);
    CHECK(free_);
    if (free_) crt__unlock(&((crt_runtime *)rt)->walk_lock);
    what_it_said = crt_join_blocking(&lasting, NULL);
}
static intptr_t until_it_ran(void *unused)
{
    SOON(GET(ran));
    return (intptr_t)unused;
}
static crt_poll gives_its_worker_away_run(void *frame, crt_cx *cx)
{
    (void)frame;
    CHECK_EQ(crt_task_local_set(cx, &left_here, cx->rt, waits_in_a_drop), 0);
    CHECK_EQ(crt_spawn(cx, counts_run, &(crt_frame){0}), 0);   // by who takes the worker over
    CHECK_EQ(crt_block_in_place(cx, until_it_ran, NULL), 0);
    CHECK(!cx->worker);
    return 0;
}
typedef struct with_scope {
    crt_frame co;
    crt_scope scope;
    crt_poll r;
} with_scope;
static crt_poll opens_run(void *frame, crt_cx *cx)
{
    with_scope *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_join(cx, &lasting, forever_run, &(waits){.who = 0}), 0);
    CRT_AWAIT(self->r = crt_scope_run(cx, &self->scope,
                                      crt_scope_spawn(cx, &self->scope, gives_its_worker_away_run, &(crt_frame){0})));
    CHECK_EQ(self->r, 0);
    crt_abort(lasting);
    CRT_AWAIT(crt_join(cx, &lasting, NULL));
    CRT_END;
}
static void a_drop_off_the_worker_may_not_wait(void)
{
    crt_runtime *rt = runtime(1);
    SET(ran, 0);
    what_it_said = 0;
    CHECK_EQ(crt_block_on(rt, opens_run, &(with_scope){.r = 0}), 0);
    CHECK_EQ(what_it_said, CRT_ENESTED);
    dropped(rt);
}

// ---- the end of time ---------------------------------------------------------------------------------------------

static crt_poll sleeps_run(void *frame, crt_cx *cx)
{
    waits *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_time_advance(cx->rt, CRT_FOREVER), 0);
    CHECK_EQ(crt_time_advance(cx->rt, CRT_SEC(1)), 0);
    self->began = crt_now(cx);
    CHECK(self->began > 0);
    CHECK_EQ(crt_time_resume(cx->rt), 0);
    CHECK(crt_now(cx) >= self->began);
    CRT_AWAIT(self->r = crt_sleep(cx, CRT_MS(1)));
    CHECK_EQ(self->r, 0);
    CHECK(crt_now(cx) >= self->began + CRT_MS(1));
    CHECK_EQ(crt_time_pause(cx->rt), 0);
    CHECK(crt_now(cx) >= self->began + CRT_MS(1));
    CRT_END;
}
static void a_clock_that_was_advanced_for_ever_goes_on(void)
{
    crt_runtime *rt = paused();
    CHECK_EQ(crt_block_on(rt, sleeps_run, &(waits){.who = 0}), 0);
    dropped(rt);
}

// ---- joins: an arm that uses the budget up at each poll -------------------------------------------

typedef struct hog {
    crt_frame co;
    crt_stream *a, *b;
    crt_poll r;
    bool *over;
    char buf[4];
} hog;
static crt_poll hog_run(void *frame, crt_cx *cx)   // bytes through a pipe of memory, which never waits
{
    hog *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 64, &self->a, &self->b), 0);
    while (!*self->over) {
        CRT_AWAIT(self->r = crt_write_all(cx, self->a, "ping", 4));
        CRT_AWAIT(self->r = crt_read_exact(cx, self->b, self->buf, 4));
    }
    CRT_FINALLY
        crt_close(&self->a);
        crt_close(&self->b);
    CRT_END;
}
typedef struct modest {
    crt_frame co;
    bool *over;
    crt_poll r, result;
} modest;
static crt_poll modest_run(void *frame, crt_cx *cx)   // wants a little of it, once
{
    modest *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_sleep(cx, CRT_MS(5)));
    if (self->over) *self->over = true;
    CRT_RETURN(self->result);
    CRT_END;
}
typedef struct abreast {
    crt_frame co;
    hog hog;
    modest modest;
    CRT_SELECT(2) sel;
    crt_scope scope;
    crt_timer timer;
    crt_poll r, a, b;
    bool over;
} abreast;
static crt_poll abreast_body(void *frame, crt_cx *cx)
{
    abreast *self = frame;
    if (!self->hog.over) {
        self->hog.over = &self->over;
        CHECK_EQ(crt_scope_spawn(cx, &self->scope, modest_run, &(modest){.result = -7}), 0);
    }
    return hog_run(&self->hog, cx);
}
static crt_poll abreast_run(void *frame, crt_cx *cx)
{
    abreast *self = frame;
    CRT_BEGIN(self, cx);
    self->hog.over = self->modest.over = &self->over;
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(10), crt_join_all(cx, &self->sel,
        crt_on(cx, 0, self->a = hog_run(&self->hog, cx)),
        crt_on(cx, 1, self->b = modest_run(&self->modest, cx)))));
    CHECK_EQ(self->r, 0);
    self->over = false;
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(10), crt_try_join(cx, &self->sel,
        crt_on(cx, 0, self->a = hog_run(&self->hog, cx)),
        crt_on(cx, 1, self->b = modest_run(&self->modest, cx)))));
    CHECK_EQ(self->r, 0);
    self->over = false;
    self->hog.over = NULL;
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(10),
        crt_scope_try_run(cx, &self->scope, abreast_body(self, cx))));
    CHECK_EQ(self->r, -7);   // the task's failure is seen beside a body that is always busy
    CRT_END;
}
static void an_arm_that_uses_the_budget_up_holds_up_no_other(crt_runtime *rt)
{
    CHECK_EQ(crt_block_on(rt, abreast_run, &(abreast){.r = 0}), 0);
}

// ---- scope_try: a body that ends well in a poll that looked out for failures first ------------------

typedef struct steady {
    crt_frame co;
    crt_scope scope;
    crt_poll r;
    int polls, yields;
} steady;
static crt_poll steady_body(steady *self, crt_cx *cx)   // of no tasks; it ends at its poll number `yields` + 1
{
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    if (self->polls++ == self->yields) return 7;
    crt_waker w = crt_waker_clone(cx);
    crt_wake(&w);
    return CRT_PENDING;
}
static crt_poll steady_run(void *frame, crt_cx *cx)
{
    steady *self = frame;
    CRT_BEGIN(self, cx);
    for (self->yields = 0; self->yields < 5; self->yields++) {
        self->polls = 0;
        CRT_AWAIT(self->r = crt_scope_try_run(cx, &self->scope, steady_body(self, cx)));   // no timer: it would wake it
        CHECK_EQ(self->r, 7);
        CHECK_EQ(self->polls, self->yields + 1);
    }
    CRT_END;
}
static void a_try_scope_ends_with_its_body_whichever_arm_is_first(crt_runtime *rt)
{
    CHECK_EQ(crt_block_on(rt, steady_run, &(steady){.r = 0}), 0);
}

int main(int argc, char **argv)
{
    (void)test__on_each;
    test_init(argc, argv);
    TEST(storage_has_room_for_a_member_of_a_local_set);
    TEST(who_was_woken_keeps_its_place_in_a_delay_queue);
    TEST(an_emptied_delay_queue_goes_by_its_next_runtimes_clock);
    TEST(a_peek_sees_what_is_due_before_years_have_passed);
    TEST(a_task_woken_while_it_runs_is_not_stuck_behind_a_long_poll);
    TEST(injected_tasks_do_not_starve_a_background_task);
    TEST(a_hook_that_blocks_on_a_task_is_refused);
    TEST(each_blocking_job_begins_before_the_poll_ends);
#ifndef _WIN32
    TEST(the_poll_descriptor_tells_of_what_a_block_on_left);
    TEST(the_poll_descriptor_tells_of_a_timer_and_of_the_end);
#endif
    TEST(a_driver_stuck_in_a_poll_ends_what_the_shutdown_left);
    TEST(a_driver_stuck_in_a_poll_ends_what_a_shutdown_without_time_left);
    TEST(a_turn_stuck_in_a_poll_ends_what_the_shutdown_left);
    TEST(a_turn_without_end_stops_with_the_shutdown);
    TEST(a_drop_waits_for_another_threads_shutdown);
    TEST(a_scopes_tasks_are_cancelled_before_its_body_has_cleaned_up);
    TEST(a_local_set_whose_runtime_is_gone_is_refused_by_another);
#ifndef _WIN32
    TEST(a_child_that_was_waited_for_elsewhere_is_not_killed);
    TEST(an_output_used_again_has_nothing_of_the_last);
#endif
    TEST(what_is_missing_is_refused);
    TEST(an_abort_handle_hears_of_the_end_as_early_as_the_join);
#ifdef __linux__
    TEST(metrics_that_find_no_room_on_the_disk_say_so);
#endif
    TEST(what_a_poll_by_hand_left_parked_is_gone_in_the_cleanup);
    TEST(a_select_is_polled_as_often_as_need_be);
    TEST(a_background_task_does_not_starve_the_others);
#ifdef STEPS_IN
    TEST(an_advance_from_another_thread_is_not_lost);
#endif
    TEST(a_pause_reaches_a_driver_that_waits);
    TEST(a_dump_says_that_a_timer_sleeps);
    TEST(a_driver_that_leaves_its_poll_too_late_begins_each_cleanup);
    TEST(a_block_on_ends_after_the_tasks_of_its_scope);
    TEST(a_block_on_that_blocks_in_place_ends_after_the_tasks_of_its_scope);
    TEST(what_a_dump_looks_at_is_counted_at_a_forced_end);
    TEST(a_drop_by_what_a_task_leaves_is_refused_at_a_forced_end);
    TEST(a_drop_by_what_a_task_leaves_is_refused_at_a_late_end);
    TEST(what_is_cancelled_before_it_begins_waits_anew);
    TEST(a_cleanup_writes_a_file_while_the_runtime_ends);
    TEST(a_select_or_timer_inside_itself_is_refused);
    TEST(a_shutdown_without_time_counts_what_has_not_ended);
#ifdef STEPS_IN
    TEST(what_is_ended_by_force_meanwhile_is_counted);
#endif
    TEST(a_stream_is_shut_down_without_budget_too);
    TEST(a_refused_spawn_is_not_counted);
    TEST(a_second_panic_is_logged_and_the_join_tells_of_the_first);
    TEST(a_pair_in_the_lifo_slot_does_not_starve_the_others);
    TEST(pinned_and_ordinary_tasks_take_turns_at_any_interval);
    TEST(the_background_waits_for_who_yields);
    TEST(a_drop_off_the_worker_may_not_wait);
    TEST(a_clock_that_was_advanced_for_ever_goes_on);
    TEST_ON_EACH(an_arm_that_uses_the_budget_up_holds_up_no_other);
    TEST_ON_EACH(a_try_scope_ends_with_its_body_whichever_arm_is_first);
    return test_end();
}
