// model_groups.c - crews of tasks: join set, join map, tracker, scope.
//
// Promise: each task is told of exactly once, in the order of their ends, or not at all if
// nobody asks any more; a wait ends when the last task has, not before; a scope's memory may
// go as soon as the scope has ended; nothing leaks, whoever goes first.
#include "model_platform.h"

static model_hand *hand[2];
static int data[2];           // plain: what each task has written
static int unwinds, ended;
static crt_join_set set;
static crt_join_map map;
static crt_task_tracker *tracker;
static crt_notify never;

// A task's frame, larger than the classes of the slab: each task is a block of its own.
typedef struct member {
    int index, result;
    bool parks;
    char room[17000];
} member;
static crt_poll member_run(void *frame, crt_cx *cx)
{
    member *self = frame;
    if (self->parks) {
        crt_poll r = crt_notified(cx, &never);
        if (r == CRT_PENDING) return r;
        unwinds++;
        ended++;
        return r;
    }
    ended++;
    if (crt_take_unwind(cx)) {
        unwinds++;
        return CRT_UNWIND;
    }
    EX_WRITE(data[self->index]) = 1;
    return self->result;
}
static member frame;
static const member *member_of(int index, int result, bool parks)
{
    frame.index = index;
    frame.result = result;
    frame.parks = parks;
    return &frame;
}

static void setup(uint32_t worker_count)
{
    model_runtime(worker_count);
    for (int i = 0; i < 2; i++) {
        EX_WRITE(data[i]) = 0;
        hand[i] = model_hand_new();
    }
    memset(&set, 0, sizeof set);
    memset(&map, 0, sizeof map);
    memset(&never, 0, sizeof never);
    tracker = NULL;
    unwinds = ended = 0;
}
static void hand_done(int i)
{
    model_hand_free(hand[i]);
    hand[i] = NULL;
}
static void hands_free(void)
{
    for (int i = 0; i < 2; i++)
        if (hand[i]) hand_done(i);
}
// A worker that has one task to run. It was spawned from outside: it is in the queue.
static crt_task *spawned(void)
{
    crt_task *t = crt__inject_pop(&rt.inject);
    EX_ASSERT(t);
    return t;
}
static crt_task *given[2];
static void run_given(void *arg)
{
    crt_cx cx;
    crt__worker *w = &workers[1 + (intptr_t)arg];
    model_enter(w, &cx);
    crt__run_task(w, &cx, given[(intptr_t)arg]);
}
static int run_soon(int i)
{
    given[i] = spawned();
    return ex_spawn(run_given, (void *)(intptr_t)i);
}
static void worker(void *arg) { model_run_until(&workers[0], (uint64_t)(uintptr_t)arg); }

// --- join set

static void set_add(int index, int result)
{
    EX_ASSERT(crt_join_set_spawn_on((crt_handle *)&rt, &set, member_run, member_of(index, result, false)) == 0);
}
static int next_all(intptr_t *result)
{
    crt_poll r;
    MODEL_AWAIT(hand[0], r, crt_join_set_next(&hand[0]->cx, &set, result));
    return (int)r;
}
static void next_against_two(void)
{
    intptr_t one = 0, two = 0;
    setup(3);
    set_add(0, 1);
    int a = run_soon(0);
    set_add(1, 2);
    int b = run_soon(1);
    EX_ASSERT(next_all(&one) == 0 && EX_READ(data[one - 1]) == 1);
    EX_ASSERT(next_all(&two) == 0 && EX_READ(data[two - 1]) == 1);
    EX_ASSERT(one + two == 3 && next_all(&one) == CRT_EEMPTY);
    crt_join_set_drop(&set);
    hand_done(0);
    ex_join(a), ex_join(b);
    hands_free();
}
// Woken by something else, it looks while the task ends.
static void next_against_look(void)
{
    crt_poll r;
    intptr_t one = 0;
    setup(2);
    set_add(0, 1);
    EX_ASSERT(crt_join_set_next(&hand[0]->cx, &set, &one) == CRT_PENDING);
    int a = run_soon(0);
    if ((r = crt_join_set_next(&hand[0]->cx, &set, &one)) == CRT_PENDING) r = next_all(&one);
    EX_ASSERT(r == 0 && one == 1 && EX_READ(data[0]) == 1);
    hand_done(0);
    crt_join_set_drop(&set);
    ex_join(a);
    hands_free();
}
// A wait that is given up takes nothing.
static void next_given_up(void)
{
    crt_poll r;
    intptr_t one = 0;
    setup(2);
    set_add(0, 1);
    int a = run_soon(0);
    MODEL_TRY(hand[0], r, crt_join_set_next(&hand[0]->cx, &set, &one));
    hand_done(0);
    ex_join(a);
    if (r == CRT_UNWIND) r = crt_join_set_try_next(&set, NULL, &one);
    EX_ASSERT(r == 0 && one == 1);
    crt_join_set_drop(&set);
    hands_free();
}
static void abort_against_end(void)
{
    intptr_t one = 0;
    setup(2);
    set_add(0, 1);
    int a = run_soon(0);
    crt_join_set_abort_all(&set);
    int r = next_all(&one);
    EX_ASSERT(r == 0 ? one == 1 : r == CRT_ECANCELED);
    EX_ASSERT(next_all(&one) == CRT_EEMPTY);
    hand_done(0);
    crt_join_set_drop(&set);
    ex_join(a);
    EX_ASSERT(unwinds == (r != 0));
    hands_free();
}
// One ends by itself, one waits for the abort.
static void shut_down(void)
{
    crt_poll r;
    setup(1);
    set_add(0, 1);
    EX_ASSERT(crt_join_set_spawn_on((crt_handle *)&rt, &set, member_run, member_of(1, 0, true)) == 0);
    int a = ex_spawn(worker, (void *)2);
    MODEL_AWAIT(hand[0], r, crt_join_set_shutdown(&hand[0]->cx, &set));
    EX_ASSERT(r == 0 && ended == 2 && crt_join_set_len(&set) == 0);
    hand_done(0);
    crt_join_set_drop(&set);
    ex_join(a);
    EX_ASSERT(!never.q.head);
    hands_free();
}
static void drop_against_end(void)
{
    setup(3);
    set_add(0, 1);
    int a = run_soon(0);
    set_add(1, -5);
    int b = run_soon(1);
    crt_join_set_drop(&set);
    ex_join(a), ex_join(b);
    EX_ASSERT(ended == 2);
    hands_free();
}

// --- join map

static void map_put(int index, int result)
{
    EX_ASSERT(crt_join_map_spawn(&hand[0]->cx, &map, 7, member_run, member_of(index, result, false)) == 0);
}
// A task takes the place of one that is just ending.
static void replace_against_end(void)
{
    crt_poll r;
    uint64_t key = 0;
    intptr_t result = 0;
    setup(3);
    map_put(0, 1);
    int a = run_soon(0);
    map_put(1, 2);
    int b = run_soon(1);
    EX_ASSERT(crt_join_map_len(&map) == 1);
    MODEL_AWAIT(hand[0], r, crt_join_map_next(&hand[0]->cx, &map, &key, &result));
    EX_ASSERT(r == 0 && key == 7 && result == 2 && EX_READ(data[1]) == 1);
    MODEL_AWAIT(hand[0], r, crt_join_map_next(&hand[0]->cx, &map, &key, &result));
    EX_ASSERT(r == CRT_EEMPTY);
    hand_done(0);
    crt_join_map_drop(&map);
    ex_join(a), ex_join(b);
    hands_free();
}
static void map_drop_against_end(void)
{
    setup(2);
    map_put(0, 1);
    int a = run_soon(0);
    crt_join_map_drop(&map);
    ex_join(a);
    hands_free();
}

// --- tracker

static void close_tracker(void *arg)
{
    crt_task_tracker *t = crt_task_tracker_clone(tracker);
    (void)arg;
    EX_ASSERT(crt_task_tracker_close(t));
    crt_task_tracker_drop(&t);
}
static void leave_tracker(void *arg)
{
    (void)arg;
    EX_WRITE(data[0]) = 1;
    crt_task_tracker_leave(tracker);
}
static void wait_tracker(void)
{
    crt_poll r;
    MODEL_AWAIT(hand[0], r, crt_task_tracker_wait(&hand[0]->cx, tracker));
    EX_ASSERT(r == 0 && EX_READ(data[0]) == 1);
    EX_ASSERT(crt_task_tracker_is_closed(tracker) && crt_task_tracker_len(tracker) == 0);
    hand_done(0);
}
static void tracker_against_end(void)
{
    setup(2);
    tracker = crt_task_tracker_new();
    EX_ASSERT(crt__tracker_spawn(&rt, tracker, NULL, member_run, member_of(0, 0, false), sizeof(member), NULL) == 0);
    int a = run_soon(0), b = ex_spawn(close_tracker, NULL);
    wait_tracker();
    ex_join(b);
    crt_task_tracker_drop(&tracker);
    ex_join(a);
    hands_free();
}
static void tokens_against_close(void)
{
    setup(1);
    tracker = crt_task_tracker_new();
    crt_task_tracker_enter(tracker);
    int a = ex_spawn(leave_tracker, NULL), b = ex_spawn(close_tracker, NULL);
    wait_tracker();
    ex_join(a), ex_join(b);
    crt_task_tracker_drop(&tracker);
    hands_free();
}
static void tracker_drop_against_end(void)
{
    setup(2);
    tracker = crt_task_tracker_new();
    EX_ASSERT(crt__tracker_spawn(&rt, tracker, NULL, member_run, member_of(0, 0, false), sizeof(member), NULL) == 0);
    int a = run_soon(0);
    crt_task_tracker_drop(&tracker);
    ex_join(a);
    hands_free();
}

// --- scope: in memory that goes as soon as it has ended

static crt_scope *scope;
static int spawned_threads[2];
static bool body_began;
static int failing;   // what the first task ends with

static void scope_setup(uint32_t worker_count, int first_result)
{
    setup(worker_count);
    scope = ex_calloc(1, sizeof *scope);
    body_began = false;
    failing = first_result;
}
static void scope_add(crt_cx *cx, int index, int result, bool parks)
{
    EX_ASSERT(crt_scope_spawn(cx, scope, member_run, member_of(index, result, parks)) == 0);
}
static crt_poll body_of_two(crt_cx *cx)
{
    scope_add(cx, 0, failing, false);
    spawned_threads[0] = run_soon(0);
    scope_add(cx, 1, 0, false);
    spawned_threads[1] = run_soon(1);
    return 3;
}
static void scope_end(void)
{
    crt_scope *gone = scope;
    scope = NULL;
    ex_free(gone);
    hand_done(0);
    EX_ASSERT(ended == 2);
}
static void drain_two(int result)
{
    crt_poll r;
    scope_setup(3, result);
    MODEL_AWAIT(hand[0], r, crt_scope_run(&hand[0]->cx, scope, body_of_two(&hand[0]->cx)));
    EX_ASSERT(r == (result < 0 ? result : 3));
    EX_ASSERT(EX_READ(data[0]) == 1 && EX_READ(data[1]) == 1);
    scope_end();
    ex_join(spawned_threads[0]), ex_join(spawned_threads[1]);
    hands_free();
}
static void scope_drains(void) { drain_two(1); }
static void scope_task_fails(void) { drain_two(-5); }
// The last task ends while the opener looks.
static crt_poll body_of_one(crt_cx *cx)
{
    scope_add(cx, 0, 0, false);
    return 3;
}
static void scope_against_look(void)
{
    crt_poll r;
    scope_setup(2, 0);
    crt_cx *cx = &hand[0]->cx;
    EX_ASSERT(crt_scope_run(cx, scope, body_of_one(cx)) == CRT_PENDING);
    int a = run_soon(0);
    if ((r = crt_scope_run(cx, scope, body_of_one(cx))) == CRT_PENDING)
        MODEL_AWAIT(hand[0], r, crt_scope_run(cx, scope, body_of_one(cx)));
    EX_ASSERT(r == 3);
    ended++;
    scope_end();
    ex_join(a);
    hands_free();
}
// One task ends as it likes, the other and the body wait for ever.
static crt_poll body_that_waits(crt_cx *cx)
{
    if (!body_began && !cx->unwind) {
        body_began = true;
        scope_add(cx, 0, failing, false);
        scope_add(cx, 1, 0, true);
    }
    return crt_notified(cx, &never);
}
static void scope_failure_cancels(void)
{
    crt_poll r;
    scope_setup(1, -5);
    crt_cx *cx = &hand[0]->cx;
    int a = ex_spawn(worker, (void *)2);
    MODEL_AWAIT(hand[0], r, crt_scope_try_run(cx, scope, body_that_waits(cx)));
    EX_ASSERT(r == -5);
    scope_end();
    ex_join(a);
    EX_ASSERT(!never.q.head);
    hands_free();
}
static void opener_is_aborted(void)
{
    crt_poll r;
    scope_setup(1, 0);
    crt_cx *cx = &hand[0]->cx;
    int a = ex_spawn(worker, (void *)2);
    EX_ASSERT(crt_scope_run(cx, scope, body_that_waits(cx)) == CRT_PENDING);
    cx->unwind = 1;
    MODEL_AWAIT(hand[0], r, crt_scope_run(cx, scope, body_that_waits(cx)));
    EX_ASSERT(r == CRT_UNWIND && unwinds >= 1);
    scope_end();
    ex_join(a);
    EX_ASSERT(!never.q.head);
    hands_free();
}

// --- local set: the first spawn chooses the worker for all

static crt_local_set local;
static crt__inject inboxes[MODEL_WORKERS];
static void spawns_local(void *arg)
{
    crt_cx cx;
    intptr_t i = (intptr_t)arg;
    member f = {.index = (int)i};
    model_enter(&workers[1 + i], &cx);
    EX_ASSERT(crt_local_set_spawn(&cx, &local, member_run, &f) == 0);
}
static void one_worker_for_all(void)
{
    crt_cx cx;
    crt_poll r;
    setup(3);
    memset(&local, 0, sizeof local);
    for (int i = 0; i < 3; i++) {
        crt__inject_init(&inboxes[i]);
        workers[i].inbox = &inboxes[i];
    }
    int a = ex_spawn(spawns_local, (void *)0), b = ex_spawn(spawns_local, (void *)1);
    ex_join(a), ex_join(b);
    crt__worker *w = local.crt__worker;
    model_enter(w, &cx);
    for (int i = 0; i < 2; i++) {
        crt_task *t = crt__take_pinned(w);
        EX_ASSERT(t && t->flags >> CRT__TASK_WORKER_SHIFT == w->index);
        crt__run_task(w, &cx, t);
    }
    EX_ASSERT(ended == 2 && w->pinned_live == 0);
    MODEL_AWAIT(hand[0], r, crt_local_set_join(&hand[0]->cx, &local));
    EX_ASSERT(r == 0);
    hands_free();
}

static const model models[] = {
    {.name = "join set: next against two ends", .run = next_against_two},
    {.name = "join set: a look while a task ends", .run = next_against_look},
    {.name = "join set: next is given up", .run = next_given_up},
    {.name = "join set: abort_all against an end", .run = abort_against_end},
    {.name = "join set: drop against two ends", .run = drop_against_end},
    {.name = "join set: shutdown", .run = shut_down},
    {.name = "join map: replaced while it ends", .run = replace_against_end},
    {.name = "join map: drop against an end", .run = map_drop_against_end},
    {.name = "tracker: the last task against close", .run = tracker_against_end},
    {.name = "tracker: a token against close", .run = tokens_against_close},
    {.name = "tracker: drop against an end", .run = tracker_drop_against_end},
    {.name = "scope: two tasks end", .run = scope_drains},
    {.name = "scope: one of two fails", .run = scope_task_fails},
    {.name = "scope: a look while the last task ends", .run = scope_against_look},
    {.name = "scope: a failure cancels body and task", .run = scope_failure_cancels},
    {.name = "scope: the opener is aborted", .run = opener_is_aborted},
    {.name = "local set: two workers spawn first", .run = one_worker_for_all},

    {.name = "seed: join set: a task leaves without the lock", .run = next_against_two,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, NULL, 2}},
    {.name = "seed: join set: gives up without the lock", .run = next_given_up,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, NULL, 1}},
    {.name = "seed: join set: references in two steps", .run = drop_against_end,
     .seed = {"crt__crew_unref", "sub &c->refs", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: join set: references without an order", .run = drop_against_end,
     .seed = {"crt__crew_unref", "sub &c->refs", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: join map: no reference to the old task", .run = replace_against_end,
     .seed = {"crt__task_ref", "add &t->state", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: tracker: a task leaves without the lock", .run = tracker_against_end,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, NULL, 2}},
    {.name = "seed: tracker: a task holds no reference", .run = tracker_drop_against_end,
     .seed = {"crt__crew_ref", "add &c->refs", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: scope: a task leaves without the lock", .run = scope_drains,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, NULL, 2}},
    {.name = "seed: scope: the opener looks without the lock", .run = scope_drains,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, NULL, 1}},
    {.name = "seed: local set: the worker is chosen in two steps", .run = one_worker_for_all,
     .seed = {"crt__local_set_spawn", "cas &set->crt__worker", MODEL_SPLIT, 0, NULL, 0}},
};
MODEL_MAIN(models)
