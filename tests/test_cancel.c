// The cancel matrix: every wait x cancelled when x by what. Nothing may be lost.
//
//     before    the task was never polled, or the wait is cancelled in the poll in
//               which it began, though what it wants is there
//     parked    it waits
//     granted   it has what it waited for, and has not been polled since
//
// x crt_abort on the same worker, crt_abort from a plain thread, a lost select, a
// timeout. A second task waits for the same; after the first has gone it must get what
// the first did not take, and in the end the books must balance. On one thread all of
// it is deterministic; with four workers the first may win the race, and must then
// have everything.
//
// Tokio: aborted_future_1 and 2 (mutex), notified_*_drop (notify), concurrent_cancel,
// poll_and_cancel, cancel_acquire_releases_permits (semaphore), write_shared_drop and
// write_read_shared_drop_pending (rwlock), get_or_init_panic (once cell).
#define CRT_ALLOW_BARE_POLLS
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#include <pthread.h>

enum { BEFORE, PARKED, GRANTED, WHENS };
enum { ABORT, THREAD, SELECT, TIMEOUT, WAYS };
enum { GAVE_UP = -500 };
static const char *const when_names[] = {"before", "parked", "granted"};
static const char *const way_names[] = {"abort", "thread", "select", "timeout"};

typedef struct world {
    crt_notify notify, stop, go;
    crt_mutex mutex;
    crt_rwlock rw;
    crt_semaphore sem;
    crt_barrier barrier;
    crt_once_cell cell;
    crt_cancel_token *token;
    crt_join_set set;
    crt_task_tracker *tracker;
    crt_local_set local;
    crt_delay_queue q;
    crt_delay d;
    crt_slot slots[2];     // for polls by hand
    uint32_t snapshot;
    int helpers;           // of those
    int flag, children, begun, cleaned, taken;   // atomic
    int makers;            // atomic: who may still be inside the once cell
} world;
struct waiter;
typedef struct op {
    const char *name;
    void (*setup)(crt_cx *cx, world *w);            // so that a wait has to park
    crt_poll (*poll)(crt_cx *cx, struct waiter *a);
    void (*grant)(crt_cx *cx, world *w);            // ends one wait
    void (*after)(crt_cx *cx, world *w);            // who has it gives it back
    void (*check)(crt_cx *cx, world *w);
    bool alone;       // one task at a time waits: the second begins when the first is gone
    bool twice;       // a grant that the first did not live to see is needed once more
    bool keeps;       // granted from elsewhere: the first may still be waiting when it is cancelled
} op;
typedef struct waiter {
    crt_frame co;
    const op *op;
    world *w;
    int way;
    int *parked;
    crt_duration limit;
    crt_poll r, got;
    CRT_SELECT(2) sel;
    crt_timer timer;
    crt_scope scope;
    struct { crt_frame co; struct waiter *a; } body;
} waiter;

static void up(int *n) { __atomic_add_fetch(n, 1, __ATOMIC_SEQ_CST); }
static void down(int *n) { __atomic_sub_fetch(n, 1, __ATOMIC_SEQ_CST); }
static int look(const int *n) { return __atomic_load_n(n, __ATOMIC_SEQ_CST); }

static crt_poll seen(waiter *a, crt_poll r)
{
    if (r == CRT_PENDING) __atomic_store_n(a->parked, 1, __ATOMIC_SEQ_CST);
    return r;
}
static crt_poll given_up(crt_poll which, const waiter *a) { return which < 0 ? which : which ? a->got : GAVE_UP; }
static crt_poll waiter_run(void *frame, crt_cx *cx)
{
    waiter *self = frame;
    CRT_BEGIN(self, cx);
    if (self->way == SELECT)
        CRT_AWAIT(self->r = given_up(crt_select_biased(cx, &self->sel, crt_on(cx, 0, crt_notified(cx, &self->w->stop)),
                                                       crt_on(cx, 1, self->got = seen(self, self->op->poll(cx, self)))), self));
    else if (self->way == TIMEOUT)
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, self->limit, seen(self, self->op->poll(cx, self))));
    else
        CRT_AWAIT(self->r = seen(self, self->op->poll(cx, self)));
    if (self->r == CRT_ETIMEDOUT) self->r = GAVE_UP;
    if (self->r >= 0) {
        up(&self->w->taken);
        if (self->op->after) self->op->after(cx, self->w);
    }
    CRT_RETURN(self->r);
    CRT_END;
}
// A task that waits to be told, and says that it has cleaned up.
typedef struct helper {
    crt_frame co;
    world *w;
    crt_poll ends;
} helper;
static crt_poll helper_run(void *frame, crt_cx *cx)
{
    helper *self = frame;
    CRT_BEGIN(self, cx);
    up(&self->w->begun);
    while (!look(&self->w->flag)) CRT_AWAIT(crt_notified_since(cx, &self->w->go, 0));
    CRT_RETURN(self->ends);
    CRT_FINALLY
        down(&self->w->children);
        up(&self->w->cleaned);
    CRT_END;
}
static void tell_helpers(crt_cx *cx, world *w)
{
    (void)cx;
    up(&w->flag);
    crt_notify_waiters(&w->go);
}
static void nothing(crt_cx *cx, world *w) { (void)cx, (void)w; }

// --- notify

static crt_poll notify_poll(crt_cx *cx, waiter *a) { return crt_notified(cx, &a->w->notify); }
static crt_poll since_poll(crt_cx *cx, waiter *a) { return crt_notified_since(cx, &a->w->notify, a->w->snapshot); }
static void notify_grant(crt_cx *cx, world *w) { (void)cx, crt_notify_one(&w->notify); }
static void last_grant(crt_cx *cx, world *w) { (void)cx, crt_notify_last(&w->notify); }
static void round_grant(crt_cx *cx, world *w) { (void)cx, crt_notify_waiters(&w->notify); }
static void since_setup(crt_cx *cx, world *w) { (void)cx, w->snapshot = crt_notify_snapshot(&w->notify); }
static void notify_check(crt_cx *cx, world *w)
{
    (void)cx;
    CHECK(!w->notify.q.head);
}

// --- locks

static void mutex_setup(crt_cx *cx, world *w) { (void)cx; CHECK_EQ(crt_mutex_try_lock(&w->mutex), 0); }
static crt_poll mutex_poll(crt_cx *cx, waiter *a) { return crt_mutex_lock(cx, &a->w->mutex); }
static void mutex_grant(crt_cx *cx, world *w) { (void)cx, crt_mutex_unlock(&w->mutex); }
static void mutex_check(crt_cx *cx, world *w) { mutex_setup(cx, w); }

static void rw_setup(crt_cx *cx, world *w) { (void)cx; CHECK_EQ(crt_rwlock_try_write(&w->rw), 0); }
static crt_poll read_poll(crt_cx *cx, waiter *a) { return crt_rwlock_read(cx, &a->w->rw); }
static crt_poll write_poll(crt_cx *cx, waiter *a) { return crt_rwlock_write(cx, &a->w->rw); }
static void rw_grant(crt_cx *cx, world *w) { (void)cx, crt_rwlock_unlock_write(&w->rw); }
static void read_after(crt_cx *cx, world *w) { (void)cx, crt_rwlock_unlock_read(&w->rw); }

static void sem_setup(crt_cx *cx, world *w) { (void)cx, crt_semaphore_init(&w->sem, 0); }
static void many_setup(crt_cx *cx, world *w) { (void)cx, crt_semaphore_init(&w->sem, 1); }
static crt_poll sem_poll(crt_cx *cx, waiter *a) { return crt_semaphore_acquire(cx, &a->w->sem, 1); }
static crt_poll many_poll(crt_cx *cx, waiter *a) { return crt_semaphore_acquire(cx, &a->w->sem, 3); }
static void sem_grant(crt_cx *cx, world *w) { (void)cx, crt_semaphore_release(&w->sem, 1); }
static void many_grant(crt_cx *cx, world *w) { (void)cx, crt_semaphore_release(&w->sem, 2); }
static void many_after(crt_cx *cx, world *w) { (void)cx, crt_semaphore_release(&w->sem, 3); }
static void sem_check(crt_cx *cx, world *w) { (void)cx; CHECK_EQ(crt_semaphore_available(&w->sem), 1); }
static void many_check(crt_cx *cx, world *w) { (void)cx; CHECK_EQ(crt_semaphore_available(&w->sem), 3); }

// --- barrier of three: the third comes by hand

static void barrier_setup(crt_cx *cx, world *w) { (void)cx, crt_barrier_init(&w->barrier, 3); }
static crt_poll barrier_poll(crt_cx *cx, waiter *a)
{
    crt_poll r = crt_barrier_wait(cx, &a->w->barrier);
    return r == 1 ? 0 : r;
}
static void barrier_grant(crt_cx *cx, world *w)
{
    crt_slot *held = cx->slot;
    cx->slot = &w->slots[w->helpers++];
    (void)crt_barrier_wait(cx, &w->barrier);
    cx->slot = held;
}
static void barrier_check(crt_cx *cx, world *w)
{
    (void)cx;
    for (int i = 0; i < 2; i++) crt__slot_cancel(&w->slots[i]);
    CHECK_EQ(w->barrier.arrived, 0);
}

// --- once cell: as the one who makes it, as one whose turn comes, as one who only waits

static crt_poll maker_poll(crt_cx *cx, waiter *a)
{
    return crt_once_cell_init(cx, &a->w->cell, crt_notified(cx, &a->w->notify));
}
typedef struct other_maker {
    crt_frame co;
    crt_poll r;
    world *w;
    helper help;
} other_maker;
static crt_poll other_maker_run(void *frame, crt_cx *cx)
{
    other_maker *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_once_cell_init(cx, &self->w->cell, helper_run(&self->help, cx)));
    CRT_FINALLY
        down(&self->w->makers);
    CRT_END;
}
static void other_makes(crt_cx *cx, world *w, crt_poll ends)
{
    up(&w->children);
    up(&w->makers);
    CHECK_EQ(crt_spawn(cx, other_maker_run, (&(other_maker){.w = w, .help = {.w = w, .ends = ends}})), 0);
}
static void turn_setup(crt_cx *cx, world *w) { other_makes(cx, w, -9); }
static void wait_setup(crt_cx *cx, world *w) { other_makes(cx, w, 0); }
static crt_poll made_at_once(crt_cx *cx) { return crt_take_unwind(cx) ? CRT_UNWIND : 0; }
static crt_poll turn_poll(crt_cx *cx, waiter *a) { return crt_once_cell_init(cx, &a->w->cell, made_at_once(cx)); }
static crt_poll once_wait_poll(crt_cx *cx, waiter *a) { return crt_once_cell_wait(cx, &a->w->cell); }
static void once_check(crt_cx *cx, world *w)
{
    (void)cx;
    CHECK(crt_once_cell_is_set(&w->cell));
    CHECK(!w->cell.q.head && !w->cell.crt__maker);
}

// --- cancel token, tracker

static void token_setup(crt_cx *cx, world *w) { (void)cx, w->token = crt_cancel_token_new(); }
static crt_poll token_poll(crt_cx *cx, waiter *a) { return crt_cancelled(cx, a->w->token); }
static void token_grant(crt_cx *cx, world *w) { (void)cx, crt_cancel_token_cancel(w->token); }
static void token_check(crt_cx *cx, world *w)
{
    (void)cx;
    CHECK(w->token->refs == 1 && !w->token->q.head);
    crt_cancel_token_drop(&w->token);
}
static void tracker_setup(crt_cx *cx, world *w)
{
    (void)cx;
    w->tracker = crt_task_tracker_new();
    crt_task_tracker_close(w->tracker);
    crt_task_tracker_enter(w->tracker);
}
static crt_poll tracker_poll(crt_cx *cx, waiter *a) { return crt_task_tracker_wait(cx, a->w->tracker); }
static void tracker_grant(crt_cx *cx, world *w) { (void)cx, crt_task_tracker_leave(w->tracker); }
static void tracker_check(crt_cx *cx, world *w)
{
    (void)cx;
    CHECK_EQ(crt_task_tracker_len(w->tracker), 0);
    crt_task_tracker_drop(&w->tracker);
}

// --- join set: of a blocking job, which can end while nobody is polled

static intptr_t wait_for_flag(void *arg)
{
    while (!look(&((world *)arg)->flag)) test_pause_us(20);
    return 3;
}
static void set_setup(crt_cx *cx, world *w) { CHECK_EQ(crt_join_set_spawn_blocking(cx, &w->set, wait_for_flag, w), 0); }
static crt_poll set_poll(crt_cx *cx, waiter *a) { return crt_join_set_next(cx, &a->w->set, NULL); }
static void set_grant(crt_cx *cx, world *w)
{
    (void)cx;
    up(&w->flag);
    // Until its result is there, without a poll of anybody on this thread.
    for (uint32_t ready = 0; !ready && !look(&w->taken); test_pause_us(20)) {
        crt__lock(&w->set.crt__tasks->q.lock);
        ready = w->set.crt__tasks->ready;
        crt__unlock(&w->set.crt__tasks->q.lock);
    }
}
static void set_check(crt_cx *cx, world *w)
{
    (void)cx;
    CHECK_EQ(crt_join_set_len(&w->set), 0);
    crt_join_set_drop(&w->set);
}

// --- local set, scope

static void local_setup(crt_cx *cx, world *w)
{
    up(&w->children);
    CHECK_EQ(crt_local_set_spawn(cx, &w->local, helper_run, (&(helper){.w = w})), 0);
}
static crt_poll local_poll(crt_cx *cx, waiter *a) { return crt_local_set_join(cx, &a->w->local); }
static crt_poll body_run(void *frame, crt_cx *cx)
{
    __typeof__(((waiter *)0)->body) *self = frame;
    CRT_BEGIN(self, cx);
    for (int i = 0; i < 2; i++) {
        up(&self->a->w->children);
        CHECK_EQ(crt_scope_spawn(cx, &self->a->scope, helper_run, (&(helper){.w = self->a->w})), 0);
    }
    CRT_END;
}
static crt_poll scope_poll(crt_cx *cx, waiter *a)
{
    a->body.a = a;
    crt_poll r = crt_scope_run(cx, &a->scope, body_run(&a->body, cx));
    if (r != CRT_PENDING) CHECK_EQ(crt_scope_len(&a->scope), 0);
    return r;
}
static crt_poll try_scope_poll(crt_cx *cx, waiter *a)
{
    a->body.a = a;
    crt_poll r = crt_scope_try_run(cx, &a->scope, body_run(&a->body, cx));
    if (r != CRT_PENDING) CHECK_EQ(crt_scope_len(&a->scope), 0);
    return r;
}
static void scope_check(crt_cx *cx, world *w)
{
    (void)cx;
    CHECK_EQ(look(&w->children), 0);   // each had its cleanup
    CHECK(look(&w->cleaned) >= look(&w->begun));
}

// --- delay queue

static void delay_setup(crt_cx *cx, world *w) { CHECK_EQ(crt_delay_insert(cx, &w->q, &w->d, CRT_SEC(3600)), 0); }
static crt_poll delay_poll(crt_cx *cx, waiter *a)
{
    crt_delay *due = NULL;
    crt_poll r = crt_delay_next(cx, &a->w->q, &due);
    if (r == 0) CHECK(due == &a->w->d);
    return r;
}
static void delay_grant(crt_cx *cx, world *w)
{
    // Once more if the first had taken it; else it is still there.
    if (crt_delay_reset(cx, &w->q, &w->d, 0) != 0) CHECK_EQ(crt_delay_insert(cx, &w->q, &w->d, 0), 0);
}
static void delay_check(crt_cx *cx, world *w)
{
    (void)cx;
    CHECK_EQ(crt_delay_len(&w->q), 0);
    CHECK(!w->q.crt__waiter);
    crt_delay_queue_drop(&w->q);
}

static const op operations[] = {
    {"notified", nothing, notify_poll, notify_grant, notify_grant, notify_check, 0, 0, 0},
    {"notified, by notify_last", nothing, notify_poll, last_grant, notify_grant, notify_check, 1, 0, 0},
    {"notified_since", since_setup, since_poll, round_grant, NULL, notify_check, 0, 0, 0},
    {"mutex_lock", mutex_setup, mutex_poll, mutex_grant, mutex_grant, mutex_check, 0, 0, 0},
    {"rwlock_read", rw_setup, read_poll, rw_grant, read_after, rw_setup, 0, 0, 0},
    {"rwlock_write", rw_setup, write_poll, rw_grant, rw_grant, rw_setup, 0, 0, 0},
    {"semaphore_acquire 1", sem_setup, sem_poll, sem_grant, sem_grant, sem_check, 0, 0, 0},
    {"semaphore_acquire 3", many_setup, many_poll, many_grant, many_after, many_check, 0, 0, 0},
    {"barrier_wait", barrier_setup, barrier_poll, barrier_grant, NULL, barrier_check, 0, 1, 0},
    {"once_cell_init, making", nothing, maker_poll, notify_grant, NULL, once_check, 0, 0, 0},
    {"once_cell_init, waiting", turn_setup, turn_poll, tell_helpers, NULL, once_check, 0, 0, 1},
    {"once_cell_wait", wait_setup, once_wait_poll, tell_helpers, NULL, once_check, 0, 0, 1},
    {"cancelled", token_setup, token_poll, token_grant, NULL, token_check, 0, 0, 0},
    {"task_tracker_wait", tracker_setup, tracker_poll, tracker_grant, NULL, tracker_check, 0, 0, 0},
    {"join_set_next", set_setup, set_poll, set_grant, NULL, set_check, 1, 0, 0},
    {"local_set_join", local_setup, local_poll, tell_helpers, NULL, scope_check, 0, 0, 1},
    {"scope_run", nothing, scope_poll, tell_helpers, NULL, scope_check, 0, 0, 1},
    {"scope_try_run", nothing, try_scope_poll, tell_helpers, NULL, scope_check, 0, 0, 1},
    {"delay_next", delay_setup, delay_poll, delay_grant, NULL, delay_check, 1, 0, 0},
};
enum { OPERATIONS = sizeof operations / sizeof operations[0] };

// --- one cell of the matrix

typedef struct cell {
    crt_frame co;
    const op *op;
    int when, way;
    bool one_thread;
    world *w;
    crt_join_handle *first, *second;
    int parked[2];
    bool granted;
    crt_poll r, r2;
    intptr_t result;
} cell;
static void *abort_it(void *join)
{
    crt_abort(join);
    return NULL;
}
static void begin(cell *self, crt_cx *cx, int i)
{
    crt_duration limit = self->when == BEFORE ? 0 : CRT_MS(1);
    CHECK_EQ(crt_spawn_join(cx, i ? &self->second : &self->first, waiter_run,
                            (&(waiter){.op = self->op, .w = self->w, .way = i ? ABORT : self->way, .parked = &self->parked[i],
                                       .limit = limit})), 0);
}
static void grant(cell *self, crt_cx *cx)
{
    self->op->grant(cx, self->w);
    self->granted = true;
}
static bool waits(cell *self, int i)
{
    return !look(&self->parked[i]) && !crt_is_finished(i ? self->second : self->first);
}
static void cancel_it(cell *self)
{
    pthread_t t;
    if (self->way == ABORT) crt_abort(self->first);
    else if (self->way == SELECT) crt_notify_one(&self->w->stop);
    else if (self->way == THREAD && !pthread_create(&t, NULL, abort_it, self->first)) pthread_join(t, NULL);
}
static crt_poll cell_run(void *frame, crt_cx *cx)
{
    cell *self = frame;
    CRT_BEGIN(self, cx);
    self->op->setup(cx, self->w);
    while (look(&self->w->begun) < look(&self->w->children)) CRT_YIELD();   // the other side of it
    if (self->when == BEFORE) {
        grant(self, cx);
        if (self->op->keeps)
            while (look(&self->w->children) > 0) CRT_YIELD();
        if (self->way == SELECT) cancel_it(self);
        begin(self, cx, 0);
        if (self->way != SELECT) cancel_it(self);
    } else {
        begin(self, cx, 0);
        while (waits(self, 0)) CRT_YIELD();
        if (!self->op->alone) {
            begin(self, cx, 1);
            while (waits(self, 1)) CRT_YIELD();
        }
        if (self->when == GRANTED) {
            if (self->way == TIMEOUT) test_pause_us(1500);   // the timer is due too; nobody is polled meanwhile
            grant(self, cx);
        }
        cancel_it(self);
    }
    CRT_AWAIT(self->r = crt_join(cx, &self->first, &self->result));
    if (self->r == 0) self->r = self->result;
    CHECK(self->r == CRT_ECANCELED || self->r == GAVE_UP || self->r == 0);
    // On one thread it is known who won.
    if (self->one_thread && !(self->op->keeps && self->when == GRANTED)) {
        if (self->way == TIMEOUT) CHECK(self->when == PARKED ? self->r == GAVE_UP : self->r != CRT_ECANCELED);
        else CHECK_EQ(self->r, self->way == SELECT ? GAVE_UP : CRT_ECANCELED);
    }
    // Taken by the first, and there was but one: the second is to have its own.
    if (self->r == 0 && self->op->alone && !self->op->after) {
        if (self->op->poll == set_poll) self->op->setup(cx, self->w);
        else self->op->grant(cx, self->w);
        self->granted = true;
    }
    if (!self->second) begin(self, cx, 1);
    if (!self->granted && (!self->op->keeps || self->op->setup == nothing))
        while (waits(self, 1)) CRT_YIELD();
    // At a barrier the first was not counted, so one more has to come in its place.
    if (self->op->twice && self->r != 0) self->op->grant(cx, self->w);
    if (!self->granted) self->op->grant(cx, self->w);
    CRT_AWAIT(self->r2 = crt_join(cx, &self->second, &self->result));
    CHECK_EQ(self->r2, 0);
    CHECK_EQ(self->result, 0);
    while (look(&self->w->children) > 0 || look(&self->w->makers) > 0) CRT_YIELD();
    self->op->check(cx, self->w);
    CRT_END;
}
static const op *under_test;
static void matrix(crt_runtime *rt)
{
    char whole[sizeof test__name];
    memcpy(whole, test__name, sizeof whole);
    for (int when = 0; when < WHENS; when++)
        for (int way = 0; way < WAYS; way++) {
            world w = {0};
            cell c = {.op = under_test, .when = when, .way = way, .w = &w,
                      .one_thread = crt_runtime_config(rt)->worker_threads == 1};
            snprintf(test__name, sizeof test__name, "%.80s, %s, %s", whole, when_names[when], way_names[way]);
            CHECK_EQ(crt_block_on(rt, cell_run, &c), 0);
        }
    memcpy(test__name, whole, sizeof whole);
}

int main(int argc, char **argv)
{
    static const crt_config quiet = {.log = {.func = test_log}};
    test_init(argc, argv);
    for (int i = 0; i < OPERATIONS; i++) {
        under_test = &operations[i];
        test__on_each(under_test->name, matrix, &quiet);
    }
    return test_end();
}
