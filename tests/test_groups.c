// test_groups.c - scopes, join sets, join maps, trackers, local sets, task locals.
//
// Held against Tokio's tests (theirs -> ours).
// task_join_set.rs, tokio-util task_join_queue.rs:
//   test_with_sleep, join_all, alternating, try_join_next*, test_join_queue_join_next_with_id,
//   spawn_then_join_next, extend -> join_sets, alternating
//   test_abort_on_drop, spawn_then_drop, abort_tasks, abort_all, spawn_then_shutdown, with_manual_abort -> join_sets
//   runtime_gone -> a_set_outlives_its_runtime
//   join_set_coop, *_disabled_coop -> budget_of_a_join_set
//   task_panics -> join_sets
//   *_does_not_replace_waker, no_spurious_wakeups -> a set has one owner, try_next parks nobody
//   panic_outside_any_runtime, panic_in_multi_thread_runtime -> spawning takes a cx or a handle; local: test_scheduler.c
// task_join_map.rs: as above, and
//   test_keys, abort_by_key, abort_by_predicate, join_map_coop -> join_maps
//   duplicate_keys, duplicate_keys2, duplicate_keys_drop -> replacing_running_and_done
//   try_join_next_*, detach_all -> join_maps
// task_tracker.rs:
//   open_close, token_len -> trackers
//   notify_immediately, notify_immediately_on_reopen (a wait begins at its first poll) -> waits_of_a_tracker
//   notify_on_close, notify_on_close_reopen, notify_on_last_task, notify_on_last_task_respawn,
//   no_notify_on_respawn_if_open, close_during_exit, notify_many -> waits_of_a_tracker
//   spawn_then_close, spawn_after_close, close_then_spawn, spawn_then_drop -> trackers
// task_local.rs: local, get_value -> task_locals; task_local_available_on_abort,
//   task_local_available_on_completion_drop -> locals_are_there_in_the_cleanup;
//   take_value, poll_after_take_value_should_fail -> the value is the caller's
// task_local_set.rs: local_threadpool, local_current_thread_scheduler, all_spawns_are_local,
//   nested_spawn_is_local, local_tasks_wake_join_all, spawn_wakes_localset, join_local_future_elsewhere,
//   local_threadpool_timer, localset_future_* -> a_local_set_stays_on_its_thread (more in test_scheduler.c);
//   drop_cancels_tasks, drop_cancels_remote_tasks, acquire_mutex_in_drop -> locks_in_cleanups;
//   *block_in_place* -> test_blocking.c; run_until_*, enter_guard_*, *_thread_local* ->
//   there is no run_until: the tasks run by themselves; shutdown_on_panic -> test_lifecycle.c
// task_abort.rs, join_handle_panic.rs -> test_task.c
// Cancelled before, during, after the grant: test_cancel.c. At random: stress_sync.c.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

// --- tasks that the tests put into groups

static int begun, cleaned;   // atomic

typedef struct work {
    crt_frame co;
    crt_duration first;   // sleeps that long, yields if 0
    int yields;
    crt_poll result;      // CRT_EPANIC: panics
    bool linger;          // its cleanup awaits too
} work;
static crt_poll work_run(void *frame, crt_cx *cx)
{
    work *self = frame;
    CRT_BEGIN(self, cx);
    __atomic_fetch_add(&begun, 1, __ATOMIC_SEQ_CST);
    if (self->first) CRT_AWAIT(crt_sleep(cx, self->first));
    for (; self->yields > 0; self->yields--) CRT_YIELD();
    if (self->result == CRT_EPANIC) CRT_PANIC(cx, "boom");
    CRT_RETURN(self->result);
    CRT_FINALLY
        if (self->linger) {
            CRT_YIELD();
            CRT_YIELD();
        }
        __atomic_fetch_add(&cleaned, 1, __ATOMIC_SEQ_CST);
    CRT_END;
}
static void reset(void) { begun = cleaned = 0; }

// --- scope

typedef struct opener {
    crt_frame co;
    crt_scope scope;
    struct {
        crt_frame co;
        crt_scope *scope;
        int tasks;
        crt_poll fails, ends;
        crt_duration sleeps;
        bool linger;
        int i;
    } body;
    bool try_;
    crt_poll r;
    int cleaned_at_the_end;
    crt_join_handle *join;
} opener;
static crt_poll body_run(void *frame, crt_cx *cx)
{
    __typeof__(((opener *)0)->body) *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->tasks; self->i++)
        CHECK_EQ(crt_scope_spawn(cx, self->scope, work_run,
                                 &(work){.first = self->i ? CRT_SEC(3600) : CRT_MS(1),
                                         .result = self->i ? 0 : self->fails, .linger = self->linger}), 0);
    if (self->sleeps) CRT_AWAIT(crt_sleep(cx, self->sleeps));
    CRT_RETURN(self->ends);
    CRT_FINALLY
        CRT_YIELD();
        __atomic_fetch_add(&cleaned, 100, __ATOMIC_SEQ_CST);
    CRT_END;
}
static crt_poll opener_run(void *frame, crt_cx *cx)
{
    opener *self = frame;
    CRT_BEGIN(self, cx);
    self->body.scope = &self->scope;
    CHECK_EQ(crt_scope_spawn(cx, &self->scope, work_run, &(work){0}), CRT_ENOCONTEXT);
    if (self->try_)
        CRT_AWAIT(self->r = crt_scope_try_run(cx, &self->scope, body_run(&self->body, cx)));
    else
        CRT_AWAIT(self->r = crt_scope_run(cx, &self->scope, body_run(&self->body, cx)));
    CHECK_EQ(crt_scope_spawn(cx, &self->scope, work_run, &(work){0}), CRT_ENOCONTEXT);
    CRT_RETURN(self->r);
    CRT_FINALLY
        // Whatever happened, nobody is left.
        self->cleaned_at_the_end = cleaned;
        CHECK_EQ(crt_scope_len(&self->scope), 0);
    CRT_END;
}
static void a_scope_waits_for_all(crt_runtime *rt)
{
    reset();
    opener o = {.body = {.tasks = 1, .ends = 7}};
    CHECK_EQ(crt_block_on(rt, opener_run, &o), 7);
    CHECK_EQ(o.cleaned_at_the_end, 101);
}
static void a_failing_task_cancels_the_others_if_asked(crt_runtime *rt)
{
    reset();
    opener o = {.body = {.tasks = 5, .fails = -77, .sleeps = CRT_SEC(3600), .linger = true}, .try_ = true};
    CHECK_EQ(crt_block_on(rt, opener_run, &o), -77);
    CHECK_EQ(o.cleaned_at_the_end, 105);
    reset();
    opener p = {.body = {.tasks = 5, .fails = CRT_EPANIC, .linger = true}, .try_ = true};
    CHECK_EQ(crt_block_on(rt, opener_run, &p), CRT_EPANIC);
    CHECK_EQ(p.cleaned_at_the_end, 105);
    reset();
    opener q = {.body = {.tasks = 3, .ends = -5, .linger = true}, .try_ = true};   // the body fails
    CHECK_EQ(crt_block_on(rt, opener_run, &q), -5);
    CHECK_EQ(q.cleaned_at_the_end, 103);
    opener s = {.body = {.tasks = 1, .ends = 3}, .try_ = true};   // nobody does
    CHECK_EQ(crt_block_on(rt, opener_run, &s), 3);
    opener t = {.body = {.tasks = 1, .fails = -6, .ends = 3}};   // the failure is told also if nothing is cancelled
    CHECK_EQ(crt_block_on(rt, opener_run, &t), -6);
}
typedef struct aborter {
    crt_frame co;
    opener *o;
    crt_poll r;
} aborter;
static crt_poll aborter_run(void *frame, crt_cx *cx)
{
    aborter *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_join(cx, &self->o->join, opener_run, self->o), 0);
    while (__atomic_load_n(&begun, __ATOMIC_SEQ_CST) < 4) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    crt_abort(self->o->join);
    CRT_AWAIT(self->r = crt_join(cx, &self->o->join, NULL));
    CHECK_EQ(self->r, CRT_ECANCELED);
    // The join tells of the end of the opener, which is after that of all others.
    CHECK_EQ(__atomic_load_n(&cleaned, __ATOMIC_SEQ_CST), 104);
    CRT_END;
}
static void aborting_the_opener_ends_all_first(crt_runtime *rt)
{
    for (int k = 0; k < 4; k++) {
        reset();
        opener o = {.body = {.tasks = 4, .sleeps = k & 1 ? CRT_SEC(3600) : 0, .linger = true}, .try_ = k & 2};
        CHECK_EQ(crt_block_on(rt, aborter_run, &(aborter){.o = &o}), 0);
    }
}

// --- join set

typedef struct owner {
    crt_frame co;
    crt_join_set set;
    crt_join_map map;
    crt_poll r;
    intptr_t result;
    uint64_t key, id;
    int i, n;
    crt_abort_handle *abort;
} owner;
static intptr_t times_two(void *arg) { return (intptr_t)arg * 2; }

static crt_poll set_run(void *frame, crt_cx *cx)
{
    owner *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_join_set_next(cx, &self->set, NULL));
    CHECK_EQ(self->r, CRT_EEMPTY);
    for (self->i = 0; self->i < 3; self->i++)
        CHECK_EQ(crt_join_set_spawn(cx, &self->set, work_run,
                                    &(work){.first = CRT_MS(30 - 10 * self->i), .result = self->i}), 0);
    CHECK_EQ(crt_join_set_try_next(&self->set, NULL, NULL), CRT_EAGAIN);
    for (self->i = 2; self->i >= 0; self->i--) {   // in the order in which they end
        CHECK_EQ(crt_join_set_len(&self->set), self->i + 1);
        CRT_AWAIT(self->r = crt_join_set_next_with_id(cx, &self->set, &self->id, &self->result));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(self->result, self->i);
        CHECK(self->id != 0);
    }
    CHECK_EQ(crt_join_set_try_next(&self->set, NULL, NULL), CRT_EEMPTY);
    // A panic, with its message; a failure is a result like any other; a job.
    CHECK_EQ(crt_join_set_spawn(cx, &self->set, work_run, &(work){.result = CRT_EPANIC}), 0);
    CRT_AWAIT(self->r = crt_join_set_next(cx, &self->set, NULL));
    CHECK_EQ(self->r, CRT_EPANIC);
    CHECK(crt_join_set_panic_message(&self->set) && strstr(crt_join_set_panic_message(&self->set), "boom"));
    CHECK_EQ(crt_join_set_spawn(cx, &self->set, work_run, &(work){.result = -3}), 0);
    CRT_AWAIT(self->r = crt_join_set_next(cx, &self->set, &self->result));
    CHECK(self->r == 0 && self->result == -3 && !crt_join_set_panic_message(&self->set));
    CHECK_EQ(crt_join_set_spawn_blocking(cx, &self->set, times_two, (void *)21), 0);
    CRT_AWAIT(self->r = crt_join_set_next(cx, &self->set, &self->result));
    CHECK(self->r == 0 && self->result == 42);
    // One by its handle, the rest together.
    reset();
    CHECK_EQ(crt_join_set_spawn_abort(cx, &self->set, &self->abort, work_run, &(work){.first = CRT_SEC(3600)}), 0);
    for (self->i = 0; self->i < 3; self->i++)
        CHECK_EQ(crt_join_set_spawn(cx, &self->set, work_run, &(work){.first = CRT_SEC(3600), .linger = true}), 0);
    self->id = crt_abort_handle_id(self->abort);
    crt_abort_handle_abort(self->abort);
    CRT_AWAIT(self->r = crt_join_set_next_with_id(cx, &self->set, &self->key, NULL));
    CHECK(self->r == CRT_ECANCELED && self->key == self->id);
    while (!crt_abort_handle_is_finished(self->abort)) CRT_YIELD();
    crt_abort_handle_drop(&self->abort);
    CRT_AWAIT(self->r = crt_join_set_shutdown(cx, &self->set));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(cleaned, 4);
    CHECK_EQ(crt_join_set_len(&self->set), 0);
    // Dropped: aborted, and the set is ready again.
    for (self->i = 0; self->i < 3; self->i++)
        CHECK_EQ(crt_join_set_spawn(cx, &self->set, work_run, &(work){.first = CRT_SEC(3600)}), 0);
    crt_join_set_drop(&self->set);
    while (__atomic_load_n(&cleaned, __ATOMIC_SEQ_CST) != 7) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CHECK_EQ(crt_join_set_spawn(cx, &self->set, work_run, &(work){.result = 1}), 0);
    crt_join_set_detach_all(&self->set);
    while (__atomic_load_n(&cleaned, __ATOMIC_SEQ_CST) != 8) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CRT_FINALLY
        crt_join_set_drop(&self->set);
    CRT_END;
}
static void join_sets(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, set_run, &(owner){0}), 0); }

static bool is_odd(uint64_t key, void *user)
{
    (void)user;
    return key & 1;
}
static crt_poll map_run(void *frame, crt_cx *cx)
{
    owner *self = frame;
    CRT_BEGIN(self, cx);
    reset();
    for (self->i = 0; self->i < 100; self->i++)
        CHECK_EQ(crt_join_map_spawn(cx, &self->map, (uint64_t)self->i, work_run, &(work){.first = CRT_SEC(3600)}), 0);
    CHECK_EQ(crt_join_map_len(&self->map), 100);
    CHECK(crt_join_map_contains(&self->map, 99) && !crt_join_map_contains(&self->map, 100));
    CHECK(crt_join_map_abort(&self->map, 42) && !crt_join_map_abort(&self->map, 100));
    CRT_AWAIT(self->r = crt_join_map_next(cx, &self->map, &self->key, NULL));
    CHECK(self->r == CRT_ECANCELED && self->key == 42 && !crt_join_map_contains(&self->map, 42));
    // The second under a key takes the place of the first, of which nothing is heard again.
    CHECK_EQ(crt_join_map_spawn(cx, &self->map, 7, work_run, &(work){.result = 70}), 0);
    CRT_AWAIT(self->r = crt_join_map_next(cx, &self->map, &self->key, &self->result));
    CHECK(self->r == 0 && self->key == 7 && self->result == 70);
    crt_join_map_abort_matching(&self->map, is_odd, NULL);
    for (self->i = 0; self->i < 49; self->i++) {
        CRT_AWAIT(self->r = crt_join_map_next(cx, &self->map, &self->key, NULL));
        CHECK(self->r == CRT_ECANCELED && (self->key & 1));
    }
    CHECK_EQ(crt_join_map_len(&self->map), 49);
    CRT_AWAIT(self->r = crt_join_map_shutdown(cx, &self->map));
    CHECK(self->r == 0 && crt_join_map_len(&self->map) == 0);
    CRT_AWAIT(self->r = crt_join_map_next(cx, &self->map, NULL, NULL));
    CHECK_EQ(self->r, CRT_EEMPTY);
    CHECK_EQ(crt_join_map_try_next(&self->map, NULL, NULL), CRT_EEMPTY);
    CHECK_EQ(crt_join_map_spawn(cx, &self->map, 3, work_run, &(work){.yields = 2, .result = 30}), 0);
    CHECK_EQ(crt_join_map_try_next(&self->map, NULL, NULL), CRT_EAGAIN);
    while ((self->r = crt_join_map_try_next(&self->map, &self->key, &self->result)) == CRT_EAGAIN) CRT_YIELD();
    CHECK(self->r == 0 && self->key == 3 && self->result == 30);
    self->n = __atomic_load_n(&cleaned, __ATOMIC_SEQ_CST);
    CHECK_EQ(crt_join_map_spawn(cx, &self->map, 4, work_run, &(work){.yields = 2}), 0);
    crt_join_map_detach_all(&self->map);   // it runs on
    CHECK(crt_join_map_len(&self->map) == 0 && !crt_join_map_contains(&self->map, 4));
    while (__atomic_load_n(&cleaned, __ATOMIC_SEQ_CST) == self->n) CRT_YIELD();
    // One that has ended already is replaced too.
    CHECK_EQ(crt_join_map_spawn(cx, &self->map, 1, work_run, &(work){.result = 1}), 0);
    for (self->i = 0; self->i < 5; self->i++) CRT_YIELD();
    CHECK_EQ(crt_join_map_spawn(cx, &self->map, 1, work_run, &(work){.result = 2}), 0);
    CRT_AWAIT(self->r = crt_join_map_next(cx, &self->map, &self->key, &self->result));
    CHECK(self->r == 0 && self->key == 1 && self->result == 2);
    CHECK_EQ(crt_join_map_len(&self->map), 0);
    CRT_FINALLY
        crt_join_map_drop(&self->map);
    CRT_END;
}
static void join_maps(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, map_run, &(owner){0}), 0); }

// --- tracker

typedef struct tracked {
    crt_frame co;
    crt_task_tracker *t;
    crt_timer timer;
    int i;
    crt_poll r;
} tracked;
static crt_poll tracker_run(void *frame, crt_cx *cx)
{
    tracked *self = frame;
    CRT_BEGIN(self, cx);
    reset();
    self->t = crt_task_tracker_new();
    for (self->i = 0; self->i < 10; self->i++)
        CHECK_EQ(crt_task_tracker_spawn(cx, self->t, work_run, &(work){.first = CRT_MS(self->i)}), 0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(30), crt_task_tracker_wait(cx, self->t)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);   // empty by now, but open
    CHECK(crt_task_tracker_close(self->t) && !crt_task_tracker_close(self->t));
    CRT_AWAIT(self->r = crt_task_tracker_wait(cx, self->t));
    CHECK(self->r == 0 && cleaned == 10 && crt_task_tracker_len(self->t) == 0);
    CHECK(crt_task_tracker_reopen(self->t) && !crt_task_tracker_is_closed(self->t));
    crt_task_tracker_enter(self->t);
    crt_task_tracker_close(self->t);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_task_tracker_wait(cx, self->t)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    crt_task_tracker_leave(self->t);
    CRT_AWAIT(self->r = crt_task_tracker_wait(cx, self->t));
    CHECK_EQ(self->r, 0);
    // It may go before its tasks.
    self->r = crt_task_tracker_spawn(cx, self->t, work_run, &(work){.first = CRT_MS(5)});
    CHECK_EQ(self->r, 0);
    crt_task_tracker_drop(&self->t);
    CHECK(!self->t);
    while (__atomic_load_n(&cleaned, __ATOMIC_SEQ_CST) != 11) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CRT_END;
}
static void trackers(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, tracker_run, &(tracked){0}), 0); }

// --- task locals

static crt_task_local user_key = {"user"}, other_key = {"other"};
static int dropped;
static void drop_value(void *value)
{
    (void)value;
    dropped++;
}
static crt_poll inner_run(void *frame, crt_cx *cx)
{
    struct { crt_frame co; int i; } *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 3; self->i++) {
        CHECK(crt_task_local_get(cx, &user_key) == (void *)&user_key);
        CHECK(crt_task_local_get(cx, &other_key) == (void *)&dropped);
        CRT_YIELD();
    }
    CRT_END;
}
typedef struct locals {
    crt_frame co;
    crt_local_scope a, b;
    CRT_SELECT(2) sel;
    struct { crt_frame co; int i; } inner, second;
    crt_poll r, r2;
} locals;
static crt_poll none_run(void *frame, crt_cx *cx)
{
    (void)frame;
    CHECK(!crt_task_local_get(cx, &user_key));
    return 0;
}
static crt_poll locals_run(void *frame, crt_cx *cx)
{
    locals *self = frame;
    CRT_BEGIN(self, cx);
    CHECK(!crt_task_local_get(cx, &user_key));
    CHECK_EQ(crt_task_local_set(cx, &other_key, &cleaned, drop_value), 0);
    CHECK_EQ(crt_task_local_set(cx, &other_key, &dropped, drop_value), 0);
    CHECK_EQ(dropped, 1);
    CRT_AWAIT(self->r = crt_with_local(cx, &self->a, &user_key, &user_key, inner_run(&self->inner, cx)));
    CHECK(!crt_task_local_get(cx, &user_key));
    // Each arm sees its own.
    CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
        crt_on(cx, 0, self->r2 = crt_with_local(cx, &self->a, &user_key, &user_key, inner_run(&self->inner, cx))),
        crt_on(cx, 1, crt_with_local(cx, &self->b, &user_key, NULL, none_run(NULL, cx)))));
    CHECK(!crt_task_local_get(cx, &user_key));
    CRT_END;
}
static void task_locals(crt_runtime *rt)
{
    dropped = 0;
    CHECK_EQ(crt_block_on(rt, locals_run, &(locals){0}), 0);
    CHECK_EQ(dropped, 2);
}

// --- once cell, delay queue, cancel helpers: a first look

typedef struct once {
    crt_frame co;
    crt_once_cell *cell;
    int *value;
    crt_poll (*make)(struct once *self, crt_cx *cx);
    int fails;
    crt_poll r;
} once;
static int makings;
static crt_poll make(once *self, crt_cx *cx)
{
    crt_poll r = crt_yield_now(cx);
    if (r != 0) return r;
    __atomic_fetch_add(&makings, 1, __ATOMIC_SEQ_CST);
    if (self->fails) return -9;
    *self->value = 5;
    return 0;
}
static crt_poll once_run(void *frame, crt_cx *cx)
{
    once *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_once_cell_init(cx, self->cell, make(self, cx)));
    if (self->r == 0) CHECK_EQ(*self->value, 5);
    CRT_RETURN(self->r);
    CRT_END;
}
typedef struct onces {
    crt_frame co;
    crt_join_set set;
    crt_once_cell cell;
    int value, i, failed;
    crt_poll r;
    intptr_t result;
} onces;
static crt_poll onces_run(void *frame, crt_cx *cx)
{
    onces *self = frame;
    CRT_BEGIN(self, cx);
    makings = 0;
    for (self->i = 0; self->i < 8; self->i++)
        CHECK_EQ(crt_join_set_spawn(cx, &self->set, once_run,
                                    &(once){.cell = &self->cell, .value = &self->value, .fails = self->i < 2}), 0);
    for (;;) {
        CRT_AWAIT(self->r = crt_join_set_next(cx, &self->set, &self->result));
        if (self->r == CRT_EEMPTY) break;
        CHECK_EQ(self->r, 0);
        self->failed += self->result == -9;
    }
    CHECK(self->failed <= 2 && makings == self->failed + 1 && crt_once_cell_is_set(&self->cell));
    CRT_FINALLY
        crt_join_set_drop(&self->set);
    CRT_END;
}
static void a_once_cell_is_made_once(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, onces_run, &(onces){0}), 0); }

typedef struct delays {
    crt_frame co;
    crt_delay_queue q;
    crt_delay d[5], *due;
    int i;
    crt_poll r;
    crt_timer t;
    crt_until until;
    crt_cancel_token *token;
} delays;
static crt_poll delays_run(void *frame, crt_cx *cx)
{
    static const int after[] = {30, 10, 20, 10, 50000};
    static const int order[] = {1, 3, 2, 0, 4};
    delays *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_delay_next(cx, &self->q, &self->due));
    CHECK_EQ(self->r, CRT_EEMPTY);
    for (self->i = 0; self->i < 5; self->i++)
        CHECK_EQ(crt_delay_insert(cx, &self->q, &self->d[self->i], CRT_MS(after[self->i])), 0);
    CHECK_EQ(crt_delay_insert(cx, &self->q, &self->d[0], CRT_MS(1)), CRT_EBUSY);
    CHECK(crt_delay_peek(&self->q) == &self->d[1]);
    for (self->i = 0; self->i < 5; self->i++) {
        CHECK_EQ(crt_delay_len(&self->q), 5 - self->i);
        CRT_AWAIT(self->r = crt_delay_next(cx, &self->q, &self->due));
        CHECK(self->r == 0 && self->due == &self->d[order[self->i]]);
        CHECK(crt_now(cx) >= self->due->deadline);
    }
    // Reset, remove, never, time-out.
    CHECK_EQ(crt_delay_reset(cx, &self->q, &self->d[0], CRT_MS(1)), CRT_EINVAL);
    CHECK_EQ(crt_delay_insert(cx, &self->q, &self->d[0], CRT_FOREVER), 0);
    CHECK_EQ(crt_delay_insert(cx, &self->q, &self->d[1], CRT_MS(1)), 0);
    CHECK_EQ(crt_delay_reset(cx, &self->q, &self->d[1], CRT_MS(500)), 0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t, CRT_MS(100), crt_delay_next(cx, &self->q, &self->due)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK(crt_delay_remove(&self->q, &self->d[1]) && !crt_delay_remove(&self->q, &self->d[1]));
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t, CRT_SEC(100), crt_delay_next(cx, &self->q, &self->due)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    crt_delay_queue_clear(&self->q);
    CHECK(crt_delay_len(&self->q) == 0 && crt_delay_insert(cx, &self->q, &self->d[0], 0) == 0);
    CRT_AWAIT(self->r = crt_delay_next(cx, &self->q, &self->due));
    CHECK(self->r == 0 && self->due == &self->d[0]);
    self->token = crt_cancel_token_new();
    CRT_AWAIT(self->r = crt_run_until_cancelled(cx, &self->until, self->token, crt_sleep(cx, CRT_MS(10))));
    CHECK_EQ(self->r, 0);
    crt_cancel_token_cancel(self->token);
    CRT_AWAIT(self->r = crt_run_until_cancelled(cx, &self->until, self->token, crt_sleep(cx, CRT_MS(10))));
    CHECK_EQ(self->r, CRT_ECANCELED);
    CRT_FINALLY
        crt_cancel_token_drop(&self->token);
        crt_delay_queue_drop(&self->q);
    CRT_END;
}
static void delay_queues(void)
{
    crt_runtime *rt;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .start_paused = true}, &rt), 0);
    CHECK_EQ(crt_block_on(rt, delays_run, &(delays){0}), 0);
    crt_runtime_drop(&rt);
}


// --- scopes inside scopes, tasks that spawn siblings, under select and timeout

static int alive;   // atomic: tasks of the tree that have not cleaned up
typedef struct node {
    crt_frame co;
    crt_scope *home;     // where siblings go
    int depth, siblings;
    bool forever, fails, try_;
    crt_scope own;
    struct { crt_frame co; struct node *n; int i; } body;
    crt_poll r;
} node;
static crt_poll node_run(void *frame, crt_cx *cx);
static void grow(crt_cx *cx, crt_scope *scope, node n)
{
    __atomic_add_fetch(&alive, 1, __ATOMIC_SEQ_CST);
    n.home = scope;
    int e = crt_scope_spawn(cx, scope, node_run, &n);
    CHECK(e == 0 || e == CRT_ECANCELED);
    if (e) __atomic_sub_fetch(&alive, 1, __ATOMIC_SEQ_CST);
}
static crt_poll node_body_run(void *frame, crt_cx *cx)
{
    __typeof__(((node *)0)->body) *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 3; self->i++) {
        grow(cx, &self->n->own, (node){.depth = self->n->depth - 1, .siblings = self->i, .forever = self->n->forever,
                                       .try_ = self->n->try_, .fails = self->n->fails && self->i == 1});
        CRT_YIELD();
    }
    CRT_END;
}
static crt_poll node_run(void *frame, crt_cx *cx)
{
    node *self = frame;
    CRT_BEGIN(self, cx);
    for (; self->siblings > 0 && self->home; self->siblings--) grow(cx, self->home, (node){.forever = self->forever});
    self->body.n = self;
    if (self->depth > 0) {
        if (self->try_) CRT_AWAIT(self->r = crt_scope_try_run(cx, &self->own, node_body_run(&self->body, cx)));
        else CRT_AWAIT(self->r = crt_scope_run(cx, &self->own, node_body_run(&self->body, cx)));
        CRT_RETURN(self->r);
    }
    if (self->fails) CRT_RETURN(-33);
    if (self->forever) CRT_AWAIT(crt_sleep(cx, CRT_FOREVER));
    CRT_YIELD();
    CRT_FINALLY
        CRT_YIELD();
        if (self->home) __atomic_sub_fetch(&alive, 1, __ATOMIC_SEQ_CST);
    CRT_END;
}
typedef struct forest {
    crt_frame co;
    node root;
    CRT_SELECT(2) sel;
    crt_timer t;
    crt_poll r, got;
    crt_join_handle *join;
} forest;
static crt_poll forest_run(void *frame, crt_cx *cx)
{
    forest *self = frame;
    CRT_BEGIN(self, cx);
    alive = 0;
    // All end by themselves, at every depth.
    self->root = (node){.depth = 3};
    CRT_AWAIT(self->r = node_run(&self->root, cx));
    CHECK(self->r == 0 && alive == 0);
    // The loser of a select, and what a timeout cuts: all of them, cleanup included.
    self->root = (node){.depth = 3, .forever = true};
    CRT_AWAIT(self->r = crt_select(cx, &self->sel, crt_on(cx, 0, self->got = node_run(&self->root, cx)), crt_on(cx, 1, crt_sleep(cx, CRT_MS(2)))));
    CHECK(self->r == 1 && alive == 0);
    self->root = (node){.depth = 3, .forever = true, .try_ = true};
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t, CRT_MS(2), node_run(&self->root, cx)));
    CHECK(self->r == CRT_ETIMEDOUT && alive == 0);
    // A failure at the bottom ends everybody, one scope after the other.
    self->root = (node){.depth = 3, .forever = true, .try_ = true, .fails = true};
    CRT_AWAIT(self->r = node_run(&self->root, cx));
    CHECK(self->r == -33 && alive == 0);
    // The opener is aborted.
    CHECK_EQ(crt_spawn_join(cx, &self->join, node_run, (&(node){.depth = 3, .forever = true})), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(2)));
    crt_abort(self->join);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK(self->r == CRT_ECANCELED && alive == 0);
    CRT_END;
}
static void scopes_in_scopes(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, forest_run, &(forest){0}), 0); }

// crt_scope_cancel ends the tasks and lets the body go on; later spawns are refused.
typedef struct cancels {
    crt_frame co;
    crt_scope scope;
    struct { crt_frame co; crt_scope *scope; int i; } body;
    crt_poll r;
} cancels;
static crt_poll cancels_body_run(void *frame, crt_cx *cx)
{
    __typeof__(((cancels *)0)->body) *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 4; self->i++)
        CHECK_EQ(crt_scope_spawn(cx, self->scope, work_run, &(work){.first = CRT_SEC(3600), .linger = true}), 0);
    CHECK_EQ(crt_scope_len(self->scope), 4);
    crt_scope_cancel(self->scope);
    CHECK_EQ(crt_scope_spawn(cx, self->scope, work_run, &(work){0}), CRT_ECANCELED);
    while (crt_scope_len(self->scope)) CRT_YIELD();
    CRT_RETURN(11);
    CRT_END;
}
static crt_poll cancels_run(void *frame, crt_cx *cx)
{
    cancels *self = frame;
    CRT_BEGIN(self, cx);
    self->body.scope = &self->scope;
    for (self->r = 0; self->r != 11;) {
        reset();
        CRT_AWAIT(self->r = crt_scope_run(cx, &self->scope, cancels_body_run(&self->body, cx)));
        CHECK(self->r == 11 && cleaned == 4);
    }
    CRT_AWAIT(self->r = crt_scope_run(cx, &self->scope, cancels_body_run(&self->body, cx)));   // ready again
    CHECK_EQ(self->r, 11);
    CRT_END;
}
static void a_scope_is_cancelled_from_inside(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, cancels_run, &(cancels){0}), 0); }

// The opener and the tasks refuse to end; the deadline of a shutdown ends them by
// force, whichever comes first. The scope lies in the opener's frame: see ASan.
static crt_poll stubborn_run(void *frame, crt_cx *cx)
{
    work *self = frame;
    CRT_BEGIN(self, cx);
    __atomic_fetch_add(&begun, 1, __ATOMIC_SEQ_CST);
    CRT_AWAIT(crt_sleep(cx, CRT_FOREVER));
    CRT_FINALLY
        CRT_AWAIT(crt_sleep(cx, CRT_FOREVER));
    CRT_END;
}
typedef struct captor {
    crt_frame co;
    crt_scope scope;
    crt_local_set local;
    crt_join_set set;
    bool locals;
    struct { crt_frame co; crt_scope *scope; int i; } body;
    crt_poll r;
    int i;
} captor;
static crt_poll captor_body_run(void *frame, crt_cx *cx)
{
    __typeof__(((captor *)0)->body) *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 5; self->i++)
        CHECK_EQ(crt_scope_spawn(cx, self->scope, stubborn_run, &(work){0}), 0);
    CRT_END;
}
static crt_poll captor_run(void *frame, crt_cx *cx)
{
    captor *self = frame;
    CRT_BEGIN(self, cx);
    if (self->locals) {
        for (self->i = 0; self->i < 5; self->i++) {
            CHECK_EQ(crt_local_set_spawn(cx, &self->local, stubborn_run, &(work){0}), 0);
            CHECK_EQ(crt_join_set_spawn(cx, &self->set, stubborn_run, &(work){0}), 0);
        }
        CRT_AWAIT(self->r = crt_local_set_join(cx, &self->local));
    } else {
        self->body.scope = &self->scope;
        CRT_AWAIT(self->r = crt_scope_run(cx, &self->scope, captor_body_run(&self->body, cx)));
    }
    CRT_FINALLY
        crt_join_set_drop(&self->set);
        CRT_AWAIT(crt_local_set_join(cx, &self->local));   // the set must outlive its tasks
    CRT_END;
}
static void frames_with_groups_are_ended_by_force(void)
{
    for (int k = 0; k < 6; k++) {
        crt_config c = {.flavor = k % 3 == 0 ? CRT_CURRENT_THREAD : CRT_MULTI_THREAD, .worker_threads = k % 3 == 2 ? 4 : 1,
                        .log = {.func = test_log}};
        crt_runtime *rt;
        int want = k < 3 ? 5 : 10;
        reset();
        CHECK_EQ(crt_runtime_new(&c, &rt), 0);
        crt_handle *h = crt_runtime_handle(rt);
        CHECK_EQ(crt_handle_spawn(h, captor_run, (&(captor){.locals = k >= 3})), 0);
        if (k % 3 == 0)
            while (begun < want) crt_runtime_turn(rt, CRT_MS(1));
        else
            while (__atomic_load_n(&begun, __ATOMIC_SEQ_CST) < want) test_pause_us(100);
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_MS(20)), want + 1);
        crt_handle_drop(&h);
        crt_runtime_drop(&rt);
    }
}

// --- join sets: more

static crt_poll alternating_run(void *frame, crt_cx *cx)
{
    owner *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 2; self->i++) CHECK_EQ(crt_join_set_spawn(cx, &self->set, work_run, &(work){0}), 0);
    for (self->i = 0; self->i < 16; self->i++) {
        CRT_AWAIT(self->r = crt_join_set_next(cx, &self->set, NULL));
        CHECK(self->r == 0 && crt_join_set_len(&self->set) == 1);
        CHECK_EQ(crt_join_set_spawn(cx, &self->set, work_run, &(work){0}), 0);
        CHECK_EQ(crt_join_set_len(&self->set), 2);
    }
    CRT_FINALLY
        crt_join_set_drop(&self->set);
    CRT_END;
}
static void alternating(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, alternating_run, &(owner){0}), 0); }

// A thousand that have ended: taking them lets others run in between, and loses none.
static crt_poll coop_run(void *frame, crt_cx *cx)
{
    owner *self = frame;
    CRT_BEGIN(self, cx);
    reset();
    for (self->i = 0; self->i < 1000; self->i++)
        CHECK_EQ(crt_join_set_spawn(cx, &self->set, work_run, &(work){.result = self->i}), 0);
    while (__atomic_load_n(&cleaned, __ATOMIC_SEQ_CST) < 1000) CRT_YIELD();
    self->n = 1;
    for (self->i = 0; self->i < 1000; self->i++) {
        CRT_AWAIT(self->r = crt_join_set_next(cx, &self->set, NULL));
        CHECK_EQ(self->r, 0);
        self->n += crt_coop_budget(cx) == 127;   // the first of a poll
    }
    CHECK(self->n >= 1000 / 128);
    CHECK_EQ(crt_join_set_len(&self->set), 0);
    CRT_FINALLY
        crt_join_set_drop(&self->set);
    CRT_END;
}
static void budget_of_a_join_set(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, coop_run, &(owner){0}), 0); }

static crt_poll take_all_run(void *frame, crt_cx *cx)
{
    owner *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = crt_join_set_next(cx, &self->set, &self->result));
        if (self->r == CRT_EEMPTY) break;
        CHECK_EQ(self->r, CRT_ECANCELED);
        self->n++;
    }
    CHECK_EQ(self->n, 8);
    crt_join_set_drop(&self->set);
    CRT_END;
}
static void a_set_outlives_its_runtime(crt_runtime *rt)
{
    crt_runtime *gone;
    owner o = {0};
    CHECK_EQ(crt_runtime_new(&(crt_config){.worker_threads = 1}, &gone), 0);
    crt_handle *h = crt_runtime_handle(gone);
    for (int i = 0; i < 8; i++) CHECK_EQ(crt_join_set_spawn_on(h, &o.set, work_run, &(work){.first = CRT_SEC(3600)}), 0);
    crt_handle_drop(&h);
    crt_runtime_drop(&gone);
    CHECK_EQ(crt_block_on(rt, take_all_run, &o), 0);
}

// Jobs of the blocking pool that are aborted before they begin.
static int release_jobs;
static intptr_t job(void *arg)
{
    __atomic_fetch_add(&begun, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&release_jobs, __ATOMIC_SEQ_CST)) test_pause_us(50);
    return (intptr_t)arg;
}
static crt_poll jobs_run(void *frame, crt_cx *cx)
{
    owner *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 10; self->i++) CHECK_EQ(crt_join_set_spawn_blocking(cx, &self->set, job, (void *)(intptr_t)self->i), 0);
    while (!__atomic_load_n(&begun, __ATOMIC_SEQ_CST)) CRT_YIELD();   // the one thread has one
    crt_join_set_abort_all(&self->set);
    for (self->i = 0; self->i < 9; self->i++) {
        CRT_AWAIT(self->r = crt_join_set_next(cx, &self->set, &self->result));
        CHECK_EQ(self->r, CRT_ECANCELED);
    }
    CHECK_EQ(crt_join_set_try_next(&self->set, NULL, NULL), CRT_EAGAIN);
    __atomic_store_n(&release_jobs, 1, __ATOMIC_SEQ_CST);
    CRT_AWAIT(self->r = crt_join_set_next(cx, &self->set, &self->result));
    CHECK(self->r == 0 && begun == 1);
    CRT_FINALLY
        crt_join_set_drop(&self->set);
    CRT_END;
}
static void jobs_aborted_before_they_begin(crt_runtime *rt)
{
    reset();
    release_jobs = 0;
    CHECK_EQ(crt_block_on(rt, jobs_run, &(owner){0}), 0);
}

// --- join maps: more

static crt_poll replace_run(void *frame, crt_cx *cx)
{
    owner *self = frame;
    CRT_BEGIN(self, cx);
    reset();
    // Each key three times: one that runs on, one that has ended, one that counts.
    for (self->i = 0; self->i < 20; self->i++) {
        CHECK_EQ(crt_join_map_spawn(cx, &self->map, (uint64_t)self->i, work_run, &(work){.first = CRT_SEC(3600), .linger = true}), 0);
        if (self->i & 1) CRT_YIELD();   // half of them have begun
        CHECK_EQ(crt_join_map_spawn(cx, &self->map, (uint64_t)self->i, work_run, &(work){.result = 1000}), 0);
        if (self->i % 3 == 0) CRT_YIELD();
        CHECK_EQ(crt_join_map_spawn(cx, &self->map, (uint64_t)self->i, work_run, &(work){.result = self->i}), 0);
        CHECK_EQ(crt_join_map_len(&self->map), self->i + 1);
    }
    for (self->i = 0; self->i < 20; self->i++) {
        CRT_AWAIT(self->r = crt_join_map_next(cx, &self->map, &self->key, &self->result));
        CHECK(self->r == 0 && self->result == (intptr_t)self->key);
        CHECK(!crt_join_map_contains(&self->map, self->key));
    }
    CRT_AWAIT(self->r = crt_join_map_next(cx, &self->map, NULL, NULL));
    CHECK_EQ(self->r, CRT_EEMPTY);
    while (__atomic_load_n(&cleaned, __ATOMIC_SEQ_CST) < 60) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));   // the forgotten too
    // Dropped with forgotten ones still at work.
    CHECK_EQ(crt_join_map_spawn(cx, &self->map, 5, work_run, &(work){.first = CRT_SEC(3600), .linger = true}), 0);
    CRT_YIELD();
    CHECK_EQ(crt_join_map_spawn(cx, &self->map, 5, work_run, &(work){.first = CRT_SEC(3600), .linger = true}), 0);
    crt_join_map_drop(&self->map);
    while (__atomic_load_n(&cleaned, __ATOMIC_SEQ_CST) < 62) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CRT_FINALLY
        crt_join_map_drop(&self->map);
    CRT_END;
}
static void replacing_running_and_done(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, replace_run, &(owner){0}), 0); }

// A shutdown that is given up halfway leaves a map that can be used.
typedef struct half {
    crt_frame co;
    crt_join_map map;
    crt_timer t;
    int i;
    crt_poll r;
    uint64_t key;
    crt_notify go;
} half;
static crt_poll slow_run(void *frame, crt_cx *cx)
{
    struct { crt_frame co; crt_notify *go; } *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_FOREVER));
    CRT_FINALLY
        if (self->go) CRT_AWAIT(crt_notified(cx, self->go));
    CRT_END;
}
static crt_poll half_run(void *frame, crt_cx *cx)
{
    half *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 8; self->i++) {   // the last one cleans up until it is told
        struct { crt_frame co; crt_notify *go; } f = {.go = self->i == 7 ? &self->go : NULL};
        CHECK_EQ(crt_join_map_spawn(cx, &self->map, (uint64_t)self->i, slow_run, &f), 0);
    }
    for (self->i = 0; self->i < 3; self->i++) CRT_YIELD();
    CRT_AWAIT(crt_sleep(cx, CRT_MS(2)));
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t, CRT_MS(5), crt_join_map_shutdown(cx, &self->map)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK(crt_join_map_len(&self->map) >= 1 && crt_join_map_contains(&self->map, 7));
    CHECK_EQ(crt_join_map_abort(&self->map, 0), crt_join_map_contains(&self->map, 0));
    for (self->i = 100; self->i < 120; self->i++)   // the table is walked, and grows
        CHECK_EQ(crt_join_map_spawn(cx, &self->map, (uint64_t)self->i, work_run, &(work){0}), 0);
    crt_notify_one(&self->go);
    for (self->i = 0;; self->i++) {
        CRT_AWAIT(self->r = crt_join_map_next(cx, &self->map, &self->key, NULL));
        if (self->r == CRT_EEMPTY) break;
        CHECK(self->key >= 100 ? self->r == 0 : self->r == CRT_ECANCELED);
    }
    CHECK(self->i >= 21);
    CRT_FINALLY
        crt_notify_one(&self->go);
        crt_join_map_drop(&self->map);
    CRT_END;
}
static void half_a_shutdown_of_a_map(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, half_run, &(half){0}), 0); }

// --- trackers: more

#include "by_hand.h"
BODY(waits_of_a_tracker)
{
    POLLS;
    crt_task_tracker *t = crt_task_tracker_new();
    CHECK_EQ(AT(s[0], crt_task_tracker_wait(cx, t)), PENDING);   // open and empty
    crt_task_tracker_close(t);
    CHECK_EQ(AT(s[0], crt_task_tracker_wait(cx, t)), 0);
    CHECK_EQ(AT(s[0], crt_task_tracker_wait(cx, t)), 0);         // at once
    crt_task_tracker_reopen(t);
    CHECK_EQ(AT(s[0], crt_task_tracker_wait(cx, t)), PENDING);
    crt_task_tracker_close(t);
    crt_task_tracker_reopen(t);
    CHECK_EQ(AT(s[0], crt_task_tracker_wait(cx, t)), 0);         // it was over for a moment
    crt_task_tracker_close(t);
    crt_task_tracker_enter(t);
    CHECK_EQ(AT(s[0], crt_task_tracker_wait(cx, t)), PENDING);
    crt_task_tracker_leave(t);
    crt_task_tracker_enter(t);
    CHECK_EQ(AT(s[0], crt_task_tracker_wait(cx, t)), 0);         // and so here
    crt_task_tracker_leave(t);
    crt_task_tracker_reopen(t);
    crt_task_tracker_enter(t);
    CHECK_EQ(AT(s[0], crt_task_tracker_wait(cx, t)), PENDING);
    crt_task_tracker_leave(t);                                   // empty, but open
    CHECK_EQ(AT(s[0], crt_task_tracker_wait(cx, t)), PENDING);
    crt_task_tracker_enter(t);
    CHECK_EQ(AT(s[0], crt_task_tracker_wait(cx, t)), PENDING);
    CHECK_EQ(CANCEL(s[0], crt_task_tracker_wait(cx, t)), UNWIND);
    crt_task_tracker_leave(t);
    for (int spot = 0; spot <= 4; spot++) {   // closed when so many have left
        for (int i = 0; i < 4; i++) crt_task_tracker_enter(t);
        CHECK_EQ(crt_task_tracker_len(t), 4);
        for (int i = 0; i < 4; i++) {
            CHECK_EQ(AT(s[0], crt_task_tracker_wait(cx, t)), PENDING);
            if (i == spot) crt_task_tracker_close(t);
            CHECK_EQ(AT(s[0], crt_task_tracker_wait(cx, t)), PENDING);
            crt_task_tracker_leave(t);
        }
        if (spot == 4) crt_task_tracker_close(t);
        CHECK_EQ(AT(s[0], crt_task_tracker_wait(cx, t)), 0);
        crt_task_tracker_reopen(t);
    }
    for (int i = 0; i < 6; i++) CHECK_EQ(AT(s[i], crt_task_tracker_wait(cx, t)), PENDING);
    crt_task_tracker_close(t);
    for (int i = 0; i < 6; i++) CHECK_EQ(AT(s[i], crt_task_tracker_wait(cx, t)), 0);
    crt_task_tracker_drop(&t);
}

// --- what takes no notice of a cancellation; failures; where there is nothing to spawn on

static crt_poll deaf(crt_cx *cx) { return (void)cx, CRT_PENDING; }
typedef struct deaf_opener {
    crt_frame co;
    crt_scope scope;
    crt_notify never;
    bool child, begun;
    int polls;
    crt_poll r;
} deaf_opener;
static crt_poll deaf_body(deaf_opener *self, crt_cx *cx)
{
    if (self->child && !self->begun) {
        self->begun = true;
        CHECK_EQ(crt_scope_spawn(cx, &self->scope, work_run, &(work){.first = CRT_SEC(3600), .linger = true}), 0);
    }
    // Parks at first, and does not look afterwards.
    return self->polls++ ? deaf(cx) : crt_notified(cx, &self->never);
}
static crt_poll deaf_opener_run(void *frame, crt_cx *cx)
{
    deaf_opener *self = frame;
    CRT_BEGIN(self, cx);
    crt_scope_cancel(&self->scope);   // outside of the block: nothing
    CRT_AWAIT(self->r = crt_scope_run(cx, &self->scope, deaf_body(self, cx)));
    CRT_FINALLY
        CHECK_EQ(crt_scope_len(&self->scope), 0);
        CHECK(!self->never.q.head);
    CRT_END;
}
static void a_deaf_body_is_left(crt_runtime *rt)
{
    for (int child = 0; child < 2; child++) {
        crt_join_handle *join;
        crt_handle *h = crt_runtime_handle(rt);
        reset();
        CHECK_EQ(crt_handle_spawn_join(h, &join, deaf_opener_run, &(deaf_opener){.child = child}), 0);
        CHECK_EQ(crt_block_on(rt, work_run, &(work){.first = CRT_MS(20)}), 0);
        crt_abort(join);
        for (int i = 0; i < 5000 && !crt_is_finished(join); i++) CHECK_EQ(crt_block_on(rt, work_run, &(work){.first = CRT_MS(1)}), 0);
        int ended = cleaned;
        CHECK_EQ(crt_join_blocking(&join, NULL), CRT_ECANCELED);
        CHECK_EQ(ended - begun, 0);   // the child, too, after its cleanup
        crt_handle_drop(&h);
    }
}
typedef struct two_fail {
    crt_frame co;
    crt_scope scope;
    crt_poll r;
} two_fail;
static crt_poll two_fail_body(two_fail *self, crt_cx *cx)
{
    CHECK_EQ(crt_scope_spawn(cx, &self->scope, work_run, &(work){.result = -ENOENT}), 0);
    return crt_scope_spawn(cx, &self->scope, work_run, &(work){.first = CRT_MS(5), .result = -EIO});
}
static crt_poll two_fail_run(void *frame, crt_cx *cx)
{
    two_fail *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_scope_run(cx, &self->scope, two_fail_body(self, cx)));
    CHECK_EQ(self->r, -ENOENT);   // the first
    CRT_END;
}
static void the_first_of_two_failures(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, two_fail_run, &(two_fail){0}), 0); }
static bool was_aborted(crt__crew *c)
{
    return (crt__atomic_load(&crt__member_task(c->live)->state, CRT__ACQUIRE) & CRT__CANCELLED) != 0;
}
BODY(a_shutdown_that_is_cancelled_at_once)
{
    POLLS;
    crt_join_set set = {0};
    crt_join_map map = {0};
    CHECK_EQ(crt_join_set_spawn(cx, &set, work_run, &(work){.first = CRT_SEC(3600)}), 0);
    CHECK_EQ(crt_join_map_spawn(cx, &map, 7, work_run, &(work){.first = CRT_SEC(3600)}), 0);
    CHECK_EQ(CANCEL(s[0], crt_join_set_shutdown(cx, &set)), UNWIND);
    CHECK_EQ(CANCEL(s[0], crt_join_map_shutdown(cx, &map)), UNWIND);
    CHECK(crt_join_set_len(&set) == 1 && crt_join_map_contains(&map, 7));
    CHECK(!was_aborted(set.crt__tasks) && !was_aborted(map.crt__set.crt__tasks));   // nobody was told to end
    crt_join_set_drop(&set);
    crt_join_map_drop(&map);
}
// From a task of one runtime into another; into none.
typedef struct elsewhere {
    crt_frame co;
    crt_handle *other;
    crt_join_set set;
    crt_poll r;
    intptr_t result;
} elsewhere;
static crt_poll elsewhere_run(void *frame, crt_cx *cx)
{
    elsewhere *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_join_set_spawn_on(NULL, &self->set, work_run, &(work){.result = 5}), CRT_EINVAL);
    CHECK_EQ(crt_join_set_spawn_on(self->other, &self->set, work_run, &(work){.result = 5}), 0);
    CRT_AWAIT(self->r = crt_join_set_next(cx, &self->set, &self->result));
    CHECK(self->r == 0 && self->result == 5);
    CRT_FINALLY
        crt_join_set_drop(&self->set);
    CRT_END;
}
static void a_set_with_tasks_elsewhere(crt_runtime *rt)
{
    crt_runtime *other;
    CHECK_EQ(crt_runtime_new(&(crt_config){.worker_threads = 1}, &other), 0);
    crt_handle *h = crt_runtime_handle(other);
    CHECK_EQ(crt_block_on(rt, elsewhere_run, &(elsewhere){.other = h}), 0);
    crt_handle_drop(&h);
    crt_runtime_drop(&other);
}

// --- task locals, local sets: more

typedef struct seer {
    crt_frame co;
    crt_local_scope with;
    struct { crt_frame co; int *saw; } inner;
    crt_poll r;
} seer;
static crt_poll seer_inner_run(void *frame, crt_cx *cx)
{
    __typeof__(((seer *)0)->inner) *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_FOREVER));
    CRT_FINALLY
        *self->saw += crt_task_local_get(cx, &user_key) == (void *)&alive;
        CRT_YIELD();
        *self->saw += crt_task_local_get(cx, &user_key) == (void *)&alive;
        *self->saw += crt_task_local_get(cx, &other_key) == (void *)&begun;
    CRT_END;
}
static crt_poll seer_run(void *frame, crt_cx *cx)
{
    seer *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_task_local_set(cx, &other_key, &begun, drop_value), 0);
    CRT_AWAIT(self->r = crt_with_local(cx, &self->with, &user_key, &alive, seer_inner_run(&self->inner, cx)));
    CRT_END;
}
typedef struct seers {
    crt_frame co;
    crt_join_handle *join;
    int saw;
    crt_poll r;
} seers;
static crt_poll seers_run(void *frame, crt_cx *cx)
{
    seers *self = frame;
    CRT_BEGIN(self, cx);
    dropped = 0;
    CHECK_EQ(crt_spawn_join(cx, &self->join, seer_run, (&(seer){.inner = {.saw = &self->saw}})), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(2)));
    crt_abort(self->join);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK(self->r == CRT_ECANCELED && self->saw == 3 && dropped == 1);
    CRT_END;
}
static void locals_are_there_in_the_cleanup(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, seers_run, &(seers){0}), 0); }

typedef struct local {
    crt_frame co;
    crt_mutex *m;
    long *counter;     // plain: one thread, or TSan complains
    int i, children;
    bool held;
} local;
static crt_poll local_run(void *frame, crt_cx *cx)
{
    local *self = frame;
    CRT_BEGIN(self, cx);
    for (; self->children > 0; self->children--)
        CHECK_EQ(crt_spawn_local(cx, local_run, (&(local){.m = self->m, .counter = self->counter})), 0);
    for (self->i = 0; self->i < 20; self->i++) {
        ++*self->counter;
        if (self->i % 5 == 4) CRT_AWAIT(crt_sleep(cx, CRT_US(100)));
        else CRT_YIELD();
    }
    if (self->m) {
        CRT_AWAIT(crt_mutex_lock(cx, self->m));
        self->held = true;
        CRT_AWAIT(crt_sleep(cx, CRT_FOREVER));
    }
    CRT_FINALLY
        if (self->held) crt_mutex_unlock(self->m);
        else if (self->m) {   // takes it in the cleanup
            CRT_AWAIT(crt_mutex_lock(cx, self->m));
            crt_mutex_unlock(self->m);
        }
    CRT_END;
}
typedef struct locally {
    crt_frame co;
    crt_local_set set;
    crt_mutex m;
    long counter;
    int i;
    crt_poll r;
    bool ends;
} locally;
static crt_poll locally_run(void *frame, crt_cx *cx)
{
    locally *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 6; self->i++)
        CHECK_EQ(crt_local_set_spawn(cx, &self->set, local_run,
                                     (&(local){.m = self->ends ? &self->m : NULL, .counter = &self->counter, .children = 2})), 0);
    if (self->ends) {
        CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
        crt_local_set_abort_all(&self->set);
    }
    CRT_AWAIT(self->r = crt_local_set_join(cx, &self->set));
    CHECK_EQ(self->r, 0);
    if (!self->ends) CHECK_EQ(self->counter, 18 * 20);
    CHECK_EQ(crt_mutex_try_lock(&self->m), 0);
    CRT_END;
}
static void a_local_set_stays_on_its_thread(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, locally_run, &(locally){0}), 0); }
static void locks_in_cleanups(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, locally_run, &(locally){.ends = true}), 0); }

// --- a wait that an arm gives up by hand, and what an arm leaves behind

static crt_notify left_behind, kick;
static int give_up;   // atomic
typedef struct quitter {
    crt_frame co;
    CRT_SELECT(2) sel;
    crt_poll w;
} quitter;
static crt_poll quitting_arm(crt_cx *cx)
{
    return __atomic_load_n(&give_up, __ATOMIC_SEQ_CST) ? 7 : crt_notified(cx, &left_behind);
}
static crt_poll quitter_run(void *frame, crt_cx *cx)
{
    quitter *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->w = crt_select(cx, &self->sel, crt_on(cx, 0, quitting_arm(cx)), crt_on(cx, 1, crt_notified(cx, &kick))));
    CRT_RETURN(self->w);
    CRT_END;
}
typedef struct quitters {
    crt_frame co;
    quitter *child;   // in memory that goes at once
    crt_join_handle *join;
    intptr_t result;
    crt_poll r;
    bool parent;
} quitters;
static crt_poll quitters_run(void *frame, crt_cx *cx)
{
    quitters *self = frame;
    CRT_BEGIN(self, cx);
    if (self->parent) {
        self->child = calloc(1, sizeof *self->child);
        CRT_AWAIT(self->r = quitter_run(self->child, cx));
        free(self->child);
        CRT_RETURN(self->r);
    }
    give_up = 0;
    CHECK_EQ(crt_spawn_join(cx, &self->join, quitters_run, &(quitters){.parent = true}), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
    __atomic_store_n(&give_up, 1, __ATOMIC_SEQ_CST);
    crt__task_wake(crt__joined(self->join));   // as any waker may
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK(self->r == 0 && self->result == 0);   // the first arm
    crt_notify_one(&left_behind);               // nobody waits: it is stored
    CRT_AWAIT(self->r = crt_notified(cx, &left_behind));
    CHECK_EQ(self->r, 0);
    CRT_END;
}
static void an_arm_that_gives_up_leaves_nothing_in_a_queue(crt_runtime *rt)
{
    memset(&left_behind, 0, sizeof left_behind);
    CHECK_EQ(crt_block_on(rt, quitters_run, &(quitters){0}), 0);
}

// --- a child that blocks its thread past the deadline of a shutdown; its opener, whose
// memory holds the scope, is ended by force and gone by then

static int inside, leave;   // atomic
static intptr_t blocks(void *arg)
{
    (void)arg;
    __atomic_store_n(&inside, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&leave, __ATOMIC_SEQ_CST)) test_pause_us(100);
    return 0;
}
static crt_poll stuck_child_run(void *frame, crt_cx *cx)
{
    work *self = frame;
    CRT_BEGIN(self, cx);
    crt_block_in_place(cx, blocks, NULL);
    CRT_FINALLY
        __atomic_fetch_add(&cleaned, 1, __ATOMIC_SEQ_CST);
    CRT_END;
}
typedef struct large_opener {
    crt_frame co;
    crt_scope scope;
    char large[20000];   // memory of its own, that is freed with it
} large_opener;
static crt_poll spawn_stuck(large_opener *self, crt_cx *cx)
{
    return crt_scope_spawn(cx, &self->scope, stuck_child_run, &(work){0});
}
static crt_poll large_opener_run(void *frame, crt_cx *cx)
{
    large_opener *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_scope_run(cx, &self->scope, spawn_stuck(self, cx)));
    CRT_END;
}
static void a_child_may_outlive_its_scope_by_force(void)
{
    static const large_opener frame;
    crt_runtime *rt;
    reset();
    inside = leave = 0;
    CHECK_EQ(crt_runtime_new(&(crt_config){.worker_threads = 2, .log = {.func = test_log}}, &rt), 0);
    crt_handle *h = crt_runtime_handle(rt);
    CHECK_EQ(crt_handle_spawn(h, large_opener_run, &frame), 0);
    while (!__atomic_load_n(&inside, __ATOMIC_SEQ_CST)) test_pause_us(100);
    CHECK_EQ(crt_runtime_shutdown(rt, CRT_MS(30)), 2);   // opener and child
    __atomic_store_n(&leave, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&cleaned, __ATOMIC_SEQ_CST)) test_pause_us(100);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    static const crt_config quiet = {.log = {.func = test_log}};
#define EACH(fn) test__on_each(#fn, fn, &quiet)
    EACH(a_scope_waits_for_all);
    EACH(a_failing_task_cancels_the_others_if_asked);
    EACH(aborting_the_opener_ends_all_first);
    EACH(join_sets);
    EACH(join_maps);
    EACH(trackers);
    EACH(task_locals);
    EACH(a_once_cell_is_made_once);
    TEST(delay_queues);
    EACH(scopes_in_scopes);
    EACH(a_scope_is_cancelled_from_inside);
    TEST(frames_with_groups_are_ended_by_force);
    EACH(alternating);
    EACH(budget_of_a_join_set);
    EACH(a_set_outlives_its_runtime);
    TEST_ON_EACH_WITH(jobs_aborted_before_they_begin, .max_blocking_threads = 1);
    EACH(replacing_running_and_done);
    EACH(half_a_shutdown_of_a_map);
    EACH(waits_of_a_tracker);
    EACH(a_deaf_body_is_left);
    EACH(the_first_of_two_failures);
    EACH(a_shutdown_that_is_cancelled_at_once);
    EACH(a_set_with_tasks_elsewhere);
    EACH(locals_are_there_in_the_cleanup);
    EACH(a_local_set_stays_on_its_thread);
    EACH(locks_in_cleanups);
    test__on_each("an_arm_that_gives_up_leaves_nothing_in_a_queue", an_arm_that_gives_up_leaves_nothing_in_a_queue,
                  &(crt_config){.log = {.func = test_log}});
    TEST(a_child_may_outlive_its_scope_by_force);
    return test_end();
}
