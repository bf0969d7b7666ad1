// What a mutation of the core of crt.h showed that no test guarded: each in the smallest scene that notices it.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#include "by_hand.h"
#include "runtimes.h"
#include <pthread.h>
#include <time.h>

static int never;   // the address of an output that nobody may leave as it was
#define POISON ((void *)&never)

// ---- a linear histogram has steps of one width, beyond the second bucket too (crt__bucket_edges) ----

static void linear_buckets_are_of_one_width(void)
{
    crt_runtime *rt = built((crt_config){.flavor = CRT_CURRENT_THREAD, .poll_histogram = CRT_HISTOGRAM_LINEAR,
                                         .poll_histogram_resolution = CRT_MS(1), .poll_histogram_buckets = 6, COUNTED});
    for (int i = 0; i < 6; i++) {
        crt_histogram_bucket b;
        CHECK_EQ(crt_metrics_poll_bucket(rt, -1, i, &b), 0);
        CHECK_EQ(b.from, CRT_MS(i));
        CHECK_EQ(b.to, i < 5 ? CRT_MS(i + 1) : CRT_FOREVER);
    }
    dropped(rt);
}

// ---- an interval that is reset before its first tick waits a period for it ----

typedef struct ticks {
    crt_frame co;
    crt_interval every;
    crt_instant began;
    crt_poll r;
} ticks;
static crt_poll ticks_run(void *frame, crt_cx *cx)
{
    ticks *self = frame;
    CRT_BEGIN(self, cx);
    crt_interval_init(&self->every, CRT_MS(40), CRT_BURST);
    self->began = crt_now(cx);
    crt_interval_reset(cx, &self->every);
    CRT_AWAIT(self->r = crt_interval_tick(cx, &self->every));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_now(cx) - self->began, CRT_MS(40));
    CRT_AWAIT(self->r = crt_interval_tick(cx, &self->every));
    CHECK_EQ(crt_now(cx) - self->began, CRT_MS(80));
    CRT_END;
}
static void an_interval_reset_at_first_waits_a_period(void)
{
    crt_runtime *rt = paused();
    ticks t = {.r = 0};
    CHECK_EQ(crt_block_on(rt, ticks_run, &t), 0);
    dropped(rt);
}

// ---- the failure that a scope hands on is not logged as one that nobody sees ----

typedef struct scoped {
    crt_frame co;
    crt_scope scope;
    crt_poll r;
    int panics;
} scoped;
static crt_poll fails_run(void *frame, crt_cx *cx)
{
    scoped *self = frame;
    CRT_BEGIN(self, cx);
    CRT_RETURN(-7);
    CRT_END;
}
static crt_poll scope_body(crt_cx *cx, scoped *self)
{
    CHECK_EQ(crt_scope_spawn(cx, &self->scope, fails_run, &(scoped){.r = 0}), 0);
    return 0;
}
static crt_poll scope_run(void *frame, crt_cx *cx)
{
    scoped *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_scope_run(cx, &self->scope, scope_body(cx, self)));
    CRT_RETURN(self->r);
    CRT_END;
}
static void what_a_scope_hands_on_is_not_logged(void)
{
    crt_runtime *rt = paused();
    scoped s = {.r = 0};
    test_log_clear();
    CHECK_EQ(crt_block_on(rt, scope_run, &s), -7);
    CHECK(!test_log_has("nobody joins it"));
    dropped(rt);
}

// ---- crt_join_all ends with the first arm that panics: the others are cancelled ----

typedef struct joins {
    crt_frame co;
    struct {
        crt_frame co;
    } arm;
    CRT_SELECT(2) sel;
    crt_poll r[2], all;
    crt_join_handle *join;
} joins;
static crt_poll panics_run(void *frame, crt_cx *cx)
{
    joins *self = frame;
    CRT_BEGIN(self, cx);
    CRT_PANIC(cx, "an arm");
    CRT_END;
}
static int64_t ended_at;
static crt_poll join_all_run(void *frame, crt_cx *cx)
{
    joins *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->all = crt_join_all(cx, &self->sel, crt_on(cx, 0, self->r[0] = panics_run(&self->arm, cx)),
                                       crt_on(cx, 1, self->r[1] = crt_sleep(cx, CRT_SEC(10)))));
    CHECK(false);
    CRT_FINALLY
        ended_at = crt_now(cx);
    CRT_END;
}
static crt_poll join_root_run(void *frame, crt_cx *cx)
{
    joins *self = frame;
    CRT_BEGIN(self, cx);
    ended_at = crt_now(cx) - 1;
    CHECK_EQ(crt_spawn_join(cx, &self->join, join_all_run, &(joins){.r = {0}}), 0);
    CRT_AWAIT(self->all = crt_join(cx, &self->join, NULL));
    CHECK_EQ(self->all, CRT_EPANIC);
    crt_detach(&self->join);   // which kept the message
    CRT_END;
}
static void a_panic_in_one_arm_ends_a_join_of_all(void)
{
    crt_runtime *rt = paused();
    joins j = {.r = {0}};
    CHECK_EQ(crt_block_on(rt, join_root_run, &j), 0);
    CHECK(ended_at >= 0 && ended_at < CRT_SEC(10));
    dropped(rt);
}

// An arm that is over by itself, and says so: also the end of crt_join_all.
BODY(an_arm_that_unwinds_ends_a_join_of_all)
{
    POLLS;
    crt_notify n = {0};
    CRT_SELECT(2) sel = {0};
    CHECK_EQ(AT(s[0], crt_join_all(cx, &sel, crt_on(cx, 0, UNWIND), crt_on(cx, 1, crt_notified(cx, &n)))), UNWIND);
    CHECK(n.q.head == NULL);
    FORGET(s[0]);
}

// ---- a join map gives back the task that had ended when another took its key ----

typedef struct keyed {
    crt_frame co;
    crt_join_map map;
    uint64_t bytes;
    int i;
} keyed;
static crt_poll keyed_run(void *frame, crt_cx *cx)
{
    keyed *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 3000; self->i++) {
        if (self->i == 1000) self->bytes = crt__atomic_load(&cx->rt->bytes, CRT__RELAXED);
        CHECK_EQ(crt_join_map_spawn(cx, &self->map, 7, nothing_run, &(crt_frame){0}), 0);
        CRT_YIELD();   // it has ended
    }
    CHECK(crt__atomic_load(&cx->rt->bytes, CRT__RELAXED) <= self->bytes + 65536);
    CRT_FINALLY
        crt_join_map_drop(&self->map);
    CRT_END;
}
static void a_join_map_gives_back_what_had_ended(void)
{
    crt_runtime *rt = paused();
    keyed k = {.i = 0};
    CHECK_EQ(crt_block_on(rt, keyed_run, &k), 0);
    dropped(rt);
}

// ---- an expression that takes no notice of its cancellation has left the queue it was in ----
// when crt_once_cell_init, crt_timeout and crt_scope_run say how it ended.

static crt_notify bell;
static crt_poll deaf(crt_cx *cx) { return cx->unwind ? CRT_PENDING : crt_notified(cx, &bell); }
typedef struct hears {
    crt_frame co;
    crt_once_cell cell;
    crt_timer timer;
    crt_scope scope;
    crt_join_handle *join;
    int which;
    crt_poll r;
} hears;
static crt_poll deaf_run(void *frame, crt_cx *cx)
{
    hears *self = frame;
    CRT_BEGIN(self, cx);
    if (self->which == 0) CRT_AWAIT(self->r = crt_once_cell_init(cx, &self->cell, deaf(cx)));
    if (self->which == 1) CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(1), deaf(cx)));
    if (self->which == 2) CRT_AWAIT(self->r = crt_scope_run(cx, &self->scope, deaf(cx)));
    CRT_FINALLY
        CHECK_EQ(self->r, CRT_UNWIND);
        CHECK(bell.q.head == NULL);
        CHECK(cx->slot->op == NULL);
    CRT_END;
}
static crt_poll deaf_root_run(void *frame, crt_cx *cx)
{
    hears *self = frame;
    CRT_BEGIN(self, cx);
    for (self->which = 0; self->which < 3; self->which++) {
        CHECK_EQ(crt_spawn_join(cx, &self->join, deaf_run, &(hears){.which = self->which, .r = 0}), 0);
        CRT_AWAIT(crt_sleep(cx, CRT_MS(10)));
        CHECK(bell.q.head != NULL);
        crt_abort(self->join);
        CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
        CHECK_EQ(self->r, CRT_ECANCELED);
    }
    CRT_END;
}
static void who_is_deaf_to_a_cancellation_has_left_its_queue(void)
{
    crt_runtime *rt = paused();
    hears h = {.r = 0};
    memset(&bell, 0, sizeof bell);
    CHECK_EQ(crt_block_on(rt, deaf_root_run, &h), 0);
    dropped(rt);
}
typedef struct late {
    crt_frame co;
    crt_timer timer;
    crt_poll r;
} late;
static crt_poll late_run(void *frame, crt_cx *cx)
{
    late *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), deaf(cx)));
    CHECK(bell.q.head == NULL);
    CHECK(cx->slot->op == NULL);
    CRT_RETURN(self->r);
    CRT_END;
}
static void who_is_deaf_to_a_timeout_has_left_its_queue(void)
{
    crt_runtime *rt = paused();
    late l = {.r = 0};
    memset(&bell, 0, sizeof bell);
    CHECK_EQ(crt_block_on(rt, late_run, &l), CRT_ETIMEDOUT);
    dropped(rt);
}

// ---- what is refused leaves no old pointer in its outputs ----

BODY(refusals_clear_their_outputs)
{
    crt_join_set set = {0};
    crt_abort_handle *abort = POISON;
    crt_watch_tx *tx = POISON;
    crt_watch_rx *rx = POISON;
    CHECK_EQ(crt_join_set_spawn_abort(cx, NULL, &abort, nothing_run, &(crt_frame){0}), CRT_EINVAL);
    CHECK(abort == NULL);
    abort = POISON;
    CHECK_EQ(crt_join_set_spawn_abort(cx, &set, &abort, NULL, &(crt_frame){0}), CRT_EINVAL);
    CHECK(abort == NULL);
    crt_join_set_drop(&set);
    CHECK_EQ(crt_watch_new(4, NULL, &tx, &rx), CRT_EINVAL);
    CHECK(tx == NULL);
    CHECK(rx == NULL);
    // No function, no frame and no size: not a task of nothing.
    CHECK_EQ(crt_spawn_ex(cx, &(crt_task_desc){.fn = NULL}), CRT_EINVAL);
    CHECK_EQ(crt_spawn(cx, NULL, NULL), CRT_EINVAL);
}

// ---- a runtime without the IO driver sleeps: it does not spin until its timers are due ----

#ifndef _WIN32
typedef struct naps {
    crt_frame co;
} naps;
static crt_poll nap_run(void *frame, crt_cx *cx)
{
    naps *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(400)));
    CRT_END;
}
static void without_io_a_runtime_sleeps_too(void)
{
    crt_runtime *rt = built((crt_config){.flavor = CRT_CURRENT_THREAD, .drivers = CRT_DRIVER_TIME, COUNTED});
    naps n = {{0}};
    clock_t before = clock();   // of the processor, so that a busy machine does not count
    CHECK_EQ(crt_block_on(rt, nap_run, &n), 0);
    CHECK((clock() - before) * 4 < CLOCKS_PER_SEC);
    dropped(rt);
}
// crt__driver_kick: the store removed, crt__driver_turn: the one that takes it back. A kick before the wait is kept.
static void a_kick_before_the_wait_ends_it(void)
{
    crt_runtime *rt = built((crt_config){.flavor = CRT_CURRENT_THREAD, .drivers = CRT_DRIVER_TIME, COUNTED});
    crt__driver_kick(rt);
    CHECK_EQ(rt->no_io_futex, 1);
    CHECK_EQ(crt__driver_turn(rt, CRT_SEC(1000)), 0);   // at once
    CHECK_EQ(rt->no_io_futex, 0);                       // the next one waits
    dropped(rt);
}
// crt__driver_kick: crt__futex_wake removed. Who sleeps without the IO driver is woken from outside.
static crt_notify outside;
static int waits;   // atomic
static crt_poll hears_outside_run(void *frame, crt_cx *cx)
{
    naps *self = frame;
    CRT_BEGIN(self, cx);
    __atomic_store_n(&waits, 1, __ATOMIC_SEQ_CST);
    CRT_AWAIT(crt_notified(cx, &outside));
    CRT_END;
}
static void *tells_outside(void *unused)
{
    while (!__atomic_load_n(&waits, __ATOMIC_SEQ_CST)) test_pause_us(200);
    test_pause_us(20000);   // it sleeps
    crt_notify_one(&outside);
    return unused;
}
static void without_io_a_runtime_is_woken_too(void)
{
    crt_runtime *rt = built((crt_config){.flavor = CRT_CURRENT_THREAD, .drivers = CRT_DRIVER_TIME, COUNTED});
    pthread_t thread;
    naps n = {{0}};
    CHECK_EQ(pthread_create(&thread, NULL, tells_outside, NULL), 0);
    CHECK_EQ(crt_block_on(rt, hears_outside_run, &n), 0);
    pthread_join(thread, NULL);
    dropped(rt);
}
// crt__futex_wait: timeout_ns < 0 not for ever. Workers that sleep would go round and round.
static void workers_that_sleep_use_no_processor(void)
{
    crt_runtime *rt = built((crt_config){.flavor = CRT_MULTI_THREAD, .worker_threads = 4, COUNTED});
    clock_t used = CLOCKS_PER_SEC;
    for (int i = 0; i < 50 && used >= CLOCKS_PER_SEC / 50; i++) {   // once they have begun
        clock_t before = clock();
        test_pause_us(100000);
        used = clock() - before;
    }
    CHECK(used < CLOCKS_PER_SEC / 50);
    dropped(rt);
}
#endif

// ---- how long until there is something to do: asked in a task of that runtime, too ----

static crt_poll asks_run(void *frame, crt_cx *cx)
{
    crt_frame *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_runtime_next_deadline(cx->rt), CRT_FOREVER);
    CHECK_EQ(crt_spawn(cx, nothing_run, &(crt_frame){0}), 0);
    CHECK_EQ(crt_runtime_next_deadline(cx->rt), 0);
    CRT_END;
}
static void a_task_may_ask_for_the_next_deadline(void)
{
    crt_runtime *rt = paused();
    CHECK_EQ(crt_block_on(rt, asks_run, &(crt_frame){0}), 0);
    dropped(rt);
}

// ---- a scope that a failure cancels waits: nobody looks at it again and again (crt__scope_joined) ----
// Else the clock would stand still for ever.

static crt_poll try_scope_run(void *frame, crt_cx *cx)
{
    scoped *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_scope_try_run(cx, &self->scope, crt_sleep(cx, CRT_SEC(10))));
    CHECK_EQ(self->r, 0);
    CRT_END;
}
static void a_scope_that_waits_lets_the_clock_go_on(void)
{
    crt_runtime *rt = paused();
    scoped s = {.r = 0};
    CHECK_EQ(crt_block_on(rt, try_scope_run, &s), 0);
    dropped(rt);
}

// ---- what is no error has a text too ----

static void a_success_has_a_text(void)
{
    CHECK(!strcmp(crt_strerror(0), "success"));
    CHECK(!strcmp(crt_strerror(12), "success"));   // a count of bytes, say
}

// ---- a sleep that parks gives its unit of the budget back ----

BODY(a_sleep_that_parks_costs_no_budget)
{
    POLLS;
    CHECK_EQ(AT(s[0], crt_sleep(cx, CRT_SEC(100))), PENDING);
    CHECK_EQ(cx->budget, 128);
    FORGET(s[0]);
}

// ---- a worker whose local set has ended can be handed on by crt_block_in_place again ----

static int rung, seen;
typedef struct gives {
    crt_frame co;
    crt_local_set set;
    crt_join_handle *join;
    crt_poll r;
} gives;
static crt_poll rings_run(void *frame, crt_cx *cx)
{
    (void)frame, (void)cx;
    __atomic_store_n(&rung, 1, __ATOMIC_SEQ_CST);
    return 0;
}
static intptr_t waits_for_it(void *arg)
{
    (void)arg;
    for (int ms = (int)test_patience(10) * 1000; ms && !__atomic_load_n(&rung, __ATOMIC_SEQ_CST); ms--) test_pause_us(1000);
    return __atomic_load_n(&rung, __ATOMIC_SEQ_CST);
}
static crt_poll gives_run(void *frame, crt_cx *cx)
{
    gives *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_local_set_spawn(cx, &self->set, nothing_run, &(crt_frame){0}), 0);
    CRT_AWAIT(crt_local_set_join(cx, &self->set));
    CHECK_EQ(crt_spawn(cx, rings_run, &(crt_frame){0}), 0);
    __atomic_store_n(&seen, (int)crt_block_in_place(cx, waits_for_it, NULL), __ATOMIC_SEQ_CST);
    CRT_END;
}
static crt_poll gives_root_run(void *frame, crt_cx *cx)
{
    gives *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_join(cx, &self->join, gives_run, &(gives){.r = 0}), 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK_EQ(self->r, 0);
    CRT_END;
}
static void a_worker_is_handed_on_after_a_local_set(void)
{
    crt_runtime *rt = built((crt_config){.flavor = CRT_MULTI_THREAD, .worker_threads = 1, COUNTED});
    gives g = {.r = 0};
    rung = seen = 0;
    CHECK_EQ(crt_block_on(rt, gives_root_run, &g), 0);
    CHECK_EQ(__atomic_load_n(&seen, __ATOMIC_SEQ_CST), 1);
    dropped(rt);
}

// ---- an instant that is now has come, between two ticks too ----

static crt_poll now_run(void *frame, crt_cx *cx)
{
    POLLS;
    (void)frame;
    CHECK_EQ(crt_time_advance(cx->rt, CRT_US(2500)), 0);
    CHECK_EQ(AT(s[0], crt_sleep_until(cx, crt_now(cx))), 0);
    FORGET(s[0]);
    return 0;
}
static void an_instant_that_is_now_has_come(void)
{
    crt_runtime *rt = paused();
    CHECK_EQ(crt_block_on(rt, now_run, &(crt_frame){0}), 0);
    dropped(rt);
}

// ---- two arms with one index: the log says so ----

static crt_poll twice_run(void *frame, crt_cx *cx)
{
    POLLS;
    crt_notify n = {0};
    CRT_SELECT(2) sel = {0};
    (void)frame;
    test_log_clear();
    CHECK_EQ(AT(s[0], crt_select(cx, &sel, crt_on(cx, 1, crt_notified(cx, &n)), crt_on(cx, 1, crt_notified(cx, &n)))), CRT_EINVAL);
    CHECK(test_log_has("2 arms have 1 different indices"));
    FORGET(s[0]);
    return 0;
}
static void arms_of_one_index_are_named(void)
{
    crt_runtime *rt = paused();
    CHECK_EQ(crt_block_on(rt, twice_run, &(crt_frame){0}), 0);
    dropped(rt);
}

// ---- delay queues: entries that never come due are taken out wherever they lie; who waits hears of the last ----

static crt_delay_queue queue;
typedef struct delays {
    crt_frame co;
    crt_delay entry[4], *due;
    crt_join_handle *join;
    intptr_t result;
    crt_poll r;
} delays;
static crt_poll next_run(void *frame, crt_cx *cx)
{
    delays *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_delay_next(cx, &queue, &self->due));
    CRT_RETURN(self->r);
    CRT_END;
}
static crt_poll never_run(void *frame, crt_cx *cx)
{
    delays *self = frame;
    CRT_BEGIN(self, cx);
    for (int i = 0; i < 4; i++) CHECK_EQ(crt_delay_insert(cx, &queue, &self->entry[i], CRT_FOREVER), 0);
    CHECK(crt_delay_remove(&queue, &self->entry[1]));   // between two
    CHECK(crt_delay_remove(&queue, &self->entry[0]));   // at one end
    CHECK(crt_delay_remove(&queue, &self->entry[3]));   // at the other
    CHECK_EQ(crt_delay_insert(cx, &queue, &self->entry[1], CRT_MS(10)), 0);
    CHECK_EQ(crt_spawn_join(cx, &self->join, next_run, &(delays){.r = 0}), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(20)));
    CHECK(crt_is_finished(self->join));
    crt_abort(self->join);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK_EQ(crt_delay_len(&queue), 1);
    // Three again, the middle one goes, then all: whoever still pointed to it would follow it.
    CHECK_EQ(crt_delay_insert(cx, &queue, &self->entry[0], CRT_FOREVER), 0);
    CHECK_EQ(crt_delay_insert(cx, &queue, &self->entry[3], CRT_FOREVER), 0);
    CHECK(crt_delay_remove(&queue, &self->entry[0]));
    CHECK(queue.crt__never == &self->entry[3].crt__slot);
    CHECK(queue.crt__never->next == &self->entry[2].crt__slot);
    crt_delay_queue_clear(&queue);
    CHECK_EQ(crt_delay_len(&queue), 0);
    CRT_END;
}
static void what_never_comes_due_is_taken_out(void)
{
    crt_runtime *rt = paused();
    delays d = {.r = 0};
    CHECK_EQ(crt_block_on(rt, never_run, &d), 0);
    crt_delay_queue_drop(&queue);
    dropped(rt);
}
static crt_poll emptied_run(void *frame, crt_cx *cx)
{
    delays *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_delay_insert(cx, &queue, &self->entry[0], CRT_SEC(100)), 0);
    CHECK_EQ(crt_spawn_join(cx, &self->join, next_run, &(delays){.r = 0}), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(10)));
    CHECK(!crt_is_finished(self->join));
    CHECK(crt_delay_remove(&queue, &self->entry[0]));
    CRT_AWAIT(crt_sleep(cx, CRT_MS(10)));
    CHECK(crt_is_finished(self->join));
    crt_abort(self->join);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->result, CRT_EEMPTY);
    CRT_END;
}
static void who_waits_for_a_delay_hears_that_it_was_the_last(void)
{
    crt_runtime *rt = paused();
    delays d = {.r = 0};
    CHECK_EQ(crt_block_on(rt, emptied_run, &d), 0);
    crt_delay_queue_drop(&queue);
    dropped(rt);
}

// ---- a scope is as new each time; in the plain one a failure leaves the others alone ----

typedef struct again {
    crt_frame co;
    crt_scope scope;
    int *flag;
    crt_poll r;
} again;
static crt_poll sleeps_run(void *frame, crt_cx *cx)
{
    again *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(20)));
    ++*self->flag;
    CRT_END;
}
static crt_poll fails_later_run(void *frame, crt_cx *cx)
{
    again *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
    CRT_RETURN(-8);
    CRT_END;
}
static crt_poll two_body(crt_cx *cx, again *self)
{
    CHECK_EQ(crt_scope_spawn(cx, &self->scope, fails_later_run, &(again){.r = 0}), 0);
    CHECK_EQ(crt_scope_spawn(cx, &self->scope, sleeps_run, &(again){.flag = self->flag}), 0);
    return 0;
}
static crt_poll again_run(void *frame, crt_cx *cx)
{
    again *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_scope_try_run(cx, &self->scope, two_body(cx, self)));
    CHECK_EQ(self->r, -8);
    CHECK_EQ(*self->flag, 0);   // its failure has cancelled the other
    CRT_AWAIT(self->r = crt_scope_run(cx, &self->scope, 3));
    CHECK_EQ(self->r, 3);       // not the failure of the last time
    CRT_AWAIT(self->r = crt_scope_run(cx, &self->scope, two_body(cx, self)));
    CHECK_EQ(self->r, -8);
    CHECK_EQ(*self->flag, 1);   // this one has not
    CRT_END;
}
static void a_scope_is_as_new_each_time(void)
{
    crt_runtime *rt = paused();
    int flag = 0;
    again a = {.flag = &flag, .r = 0};
    CHECK_EQ(crt_block_on(rt, again_run, &a), 0);
    dropped(rt);
}

// ---- a token without a budget: what the slot was used for before says nothing ----

BODY(a_used_slot_does_not_cancel)
{
    POLLS;
    crt_notify n = {0};
    crt_cancel_token *t = crt_cancel_token_new();
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), PENDING);
    crt_notify_one(&n);
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), 0);
    held = cx->slot, cx->slot = &s[0], cx->budget = 0;
    got = crt_cancelled(cx, t);
    cx->slot = held;
    CHECK_EQ(got, PENDING);
    CHECK_EQ(AT(s[0], crt_cancelled(cx, t)), PENDING);
    FORGET(s[0]);
    crt_cancel_token_drop(&t);
}

// ---- handles are NULL once dropped, and outputs after a refusal; nothing was sent: nothing to drop ----

static int elems_dropped;
static void drops_elem(void *elem, void *user) { (void)elem, (void)user, elems_dropped++; }
BODY(dropped_handles_are_null)
{
    POLLS;
    crt_join_handle *join = POISON;
    crt_task_tracker *tracker = crt_task_tracker_new();
    CHECK_EQ(crt_task_tracker_spawn_join(cx, tracker, &join, NULL, &(crt_frame){0}), CRT_EINVAL);
    CHECK(join == NULL);
    join = POISON;
    CHECK_EQ(crt_task_tracker_spawn_join(cx, NULL, &join, nothing_run, &(crt_frame){0}), CRT_EINVAL);
    CHECK(join == NULL);
    join = POISON;
    CHECK_EQ(crt_local_set_spawn_join(cx, NULL, &join, nothing_run, &(crt_frame){0}), CRT_EINVAL);
    CHECK(join == NULL);
    crt_task_tracker_drop(&tracker);

    CHECK_EQ(crt_spawn_join(cx, &join, nothing_run, &(crt_frame){0}), 0);
    crt_abort_handle *abort = crt_join_abort_handle(join);
    crt_abort_handle_drop(&abort);
    CHECK(abort == NULL);
    crt_detach(&join);

    crt_broadcast_tx *btx;
    CHECK_EQ(crt_broadcast_new(4, 4, &btx), 0);
    crt_broadcast_weak_tx *weak = crt_broadcast_tx_downgrade(btx);
    crt_broadcast_weak_tx_drop(&weak);
    CHECK(weak == NULL);
    crt_broadcast_tx_drop(&btx);

    int first = 1;
    crt_watch_tx *wtx;
    crt_watch_rx *wrx;
    CHECK_EQ(crt_watch_new(sizeof first, &first, &wtx, &wrx), 0);
    crt_watch_tx_drop(&wtx);
    CHECK(wtx == NULL);
    crt_watch_rx_drop(&wrx);

    crt_oneshot_tx *tx;
    crt_oneshot_rx *rx;
    elems_dropped = 0;
    CHECK_EQ(crt_oneshot_new(4, &tx, &rx), 0);
    crt_oneshot_on_drop(rx, drops_elem, NULL);
    crt_oneshot_tx_drop(&tx);
    CHECK_EQ(AT(s[0], crt_oneshot_recv(cx, &rx, NULL)), CRT_ECLOSED);
    CHECK_EQ(elems_dropped, 0);
}

// ---- a timer that has been waited for, or has timed something, is out of its task's lists, and not set ----

typedef struct timed {
    crt_frame co;
    crt_timer timer;
    crt_poll r;
} timed;
static crt_poll timed_run(void *frame, crt_cx *cx)
{
    timed *self = frame;
    CRT_BEGIN(self, cx);
    crt_timer_reset(cx, &self->timer, CRT_MS(5));
    CRT_AWAIT(self->r = crt_timer_wait(cx, &self->timer));
    CHECK_EQ(self->r, 0);
    CHECK(self->timer.group.pprev == NULL);
    CHECK(cx->task->groups == NULL);
    memset(&self->timer, 0, sizeof self->timer);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_sleep(cx, CRT_MS(1))));
    CHECK_EQ(self->r, 0);
    CHECK(cx->task->groups == NULL);
    CRT_AWAIT(self->r = crt_timer_wait(cx, &self->timer));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_END;
}
static void a_timer_is_free_afterwards(void)
{
    crt_runtime *rt = paused();
    timed t = {.r = 0};
    CHECK_EQ(crt_block_on(rt, timed_run, &t), 0);
    dropped(rt);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST(linear_buckets_are_of_one_width);
    TEST(an_interval_reset_at_first_waits_a_period);
    TEST(what_a_scope_hands_on_is_not_logged);
    TEST(a_panic_in_one_arm_ends_a_join_of_all);
    TEST_ON_EACH(an_arm_that_unwinds_ends_a_join_of_all);
    TEST(a_join_map_gives_back_what_had_ended);
    TEST(who_is_deaf_to_a_cancellation_has_left_its_queue);
    TEST(who_is_deaf_to_a_timeout_has_left_its_queue);
    TEST_ON_EACH(refusals_clear_their_outputs);
#ifndef _WIN32   // whose clock() is not the processor's
    TEST(without_io_a_runtime_sleeps_too);
    TEST(a_kick_before_the_wait_ends_it);
    TEST(without_io_a_runtime_is_woken_too);
    TEST(workers_that_sleep_use_no_processor);
#endif
    TEST(a_task_may_ask_for_the_next_deadline);
    TEST(a_scope_that_waits_lets_the_clock_go_on);
    TEST(a_success_has_a_text);
    TEST_ON_EACH(a_sleep_that_parks_costs_no_budget);
    TEST(a_worker_is_handed_on_after_a_local_set);
    TEST(an_instant_that_is_now_has_come);
    TEST(arms_of_one_index_are_named);
    TEST(what_never_comes_due_is_taken_out);
    TEST(who_waits_for_a_delay_hears_that_it_was_the_last);
    TEST(a_scope_is_as_new_each_time);
    TEST_ON_EACH(a_used_slot_does_not_cancel);
    TEST_ON_EACH(dropped_handles_are_null);
    TEST(a_timer_is_free_afterwards);
    return test_end();
}
