// test_groups.c - scopes, join sets, join maps, trackers, local sets, task locals.
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
    CHECK_EQ(crt_task_tracker_spawn(cx, self->t, work_run, &(work){.first = CRT_MS(5)}), 0);
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
    return test_end();
}
