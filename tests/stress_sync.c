// stress_sync.c - everything under >>sync, >>channels and >>groups, at random, for as long as you like.
//
//     stress_sync [PRIMITIVE|all] [SECONDS] [WORKERS]       each primitive gets SECONDS (5)
//
// Rounds of sixteen tasks, three quarters on a runtime of WORKERS (4) and one quarter
// on a second runtime of one, with now and then a plain thread that blocks. Each does a
// random mixture of all operations of the primitive; every wait is at random plain, the
// loser of a select, or under a timeout; tasks are aborted at random moments. After
// each round the books must balance: nothing lost, nothing doubled, all free again. A
// watchdog dumps every task and fails if nothing has moved for 20 s.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#include "stress.h"
#include <pthread.h>

enum { ACTORS = 16, STEPS = 24, FIRST_ABORTABLE = 2 };

static uint64_t ops;   // atomic: what the watchdog looks at
static crt_runtime *rts[2];

static void moved(void) { __atomic_fetch_add(&ops, 1, __ATOMIC_RELAXED); }

// What the tasks of a round share.
typedef struct world {
    crt_mutex mutex;
    crt_rwlock rw;
    crt_semaphore sem;
    crt_notify notify;
    crt_barrier barrier;
    crt_once_cell cell;
    crt_cancel_token *root, *child[3];
    crt_mpsc_tx *tx, *spare_tx;   // spare_tx: the plain thread's
    crt_mpsc_rx *rx;
    crt_oneshot_tx *otx[ACTORS];
    crt_oneshot_rx *orx[ACTORS];
    crt_broadcast_tx *btx;
    crt_watch_tx *wtx;
    long plain, pair[2];                       // guarded by the lock under test
    long inside, live, made, used, extra, done, sum;   // atomic
    bool odd;                                  // this round: the other variant
} world;

typedef struct child {
    crt_frame co;
    crt_scope *scope;
    world *w;
    int yields, ends, spawns;
    bool forever;
} child;
typedef struct actor {
    crt_frame co;
    world *w;
    uint64_t rng;
    int id, i, k, way, held;
    uint32_t snapshot;
    crt_poll r, got;
    intptr_t result;
    long value, last[ACTORS + 1], many[5];
    uint64_t lagged;
    CRT_SELECT(2) sel;
    crt_timer timer;
    child child;
    crt_cancel_token *token;
    crt_mpsc_tx *tx;
    crt_broadcast_rx *brx;
    crt_watch_rx *wrx;
    crt_join_set set;
    crt_scope scope;
} actor;
typedef struct kind {
    const char *name;
    void (*setup)(world *w);
    void (*give)(world *w, actor *a);   // what a task owns from the start
    crt_fn run;
    void (*check)(world *w);
    void (*thread)(world *w);           // a plain thread's part
} kind;

static crt_poll given_up(crt_poll which, const actor *self)
{
    return which < 0 ? which : which == 0 ? self->got : GAVE_UP;
}
#define TRY(...)                                                                           \
    do {                                                                                   \
        TRY_WITHIN(CRT_MS(self->id & 1), __VA_ARGS__);                                     \
        if (self->r != GAVE_UP) moved();                                                   \
    } while (0)
#define SOMETIMES(n) (pick(&self->rng, (n)) == 0)
#define MAYBE_YIELD() do if (SOMETIMES(3)) CRT_YIELD(); while (0)

// --- mutex

static crt_poll mutex_run(void *frame, crt_cx *cx)
{
    actor *self = frame;
    world *w = self->w;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < STEPS; self->i++) {
        if (SOMETIMES(4)) self->r = crt_mutex_try_lock(&w->mutex);
        else TRY(crt_mutex_lock(cx, &w->mutex));
        if (self->r != 0) continue;
        self->held = 1;
        CHECK_EQ(add(&w->inside, 1), 1);
        w->plain++;
        add(&w->made, 1);
        MAYBE_YIELD();
        add(&w->inside, -1);
        self->held = 0;
        crt_mutex_unlock(&w->mutex);
    }
    CRT_FINALLY
        if (self->held) {
            add(&w->inside, -1);
            crt_mutex_unlock(&w->mutex);
        }
    CRT_END;
}
static void mutex_thread(world *w)
{
    for (int i = 0; i < STEPS; i++) {
        CHECK_EQ(crt_mutex_blocking_lock(&w->mutex), 0);
        CHECK_EQ(add(&w->inside, 1), 1);
        w->plain++;
        add(&w->made, 1);
        add(&w->inside, -1);
        crt_mutex_unlock(&w->mutex);
        moved();
    }
}
static void mutex_check(world *w)
{
    CHECK_EQ(crt_mutex_try_lock(&w->mutex), 0);
    CHECK_EQ(w->plain, w->made);
    CHECK_EQ(w->inside, 0);
}

// --- rwlock

static void rw_written(world *w)
{
    CHECK_EQ(add(&w->inside, 1000), 1000);
    w->pair[0]++;
    add(&w->made, 1);
}
static void rw_leave_write(world *w)
{
    w->pair[1]++;
    add(&w->inside, -1000);
}
static void rw_reads(world *w)
{
    CHECK(add(&w->inside, 1) < 1000);
    CHECK_EQ(w->pair[0], w->pair[1]);
}
static crt_poll rwlock_run(void *frame, crt_cx *cx)
{
    actor *self = frame;
    world *w = self->w;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < STEPS; self->i++) {
        self->k = (int)pick(&self->rng, 3);   // 0: writes
        if (SOMETIMES(4)) self->r = self->k ? crt_rwlock_try_read(&w->rw) : crt_rwlock_try_write(&w->rw);
        else if (self->k) TRY(crt_rwlock_read(cx, &w->rw));
        else TRY(crt_rwlock_write(cx, &w->rw));
        if (self->r != 0) continue;
        self->held = self->k ? 1 : 2;
        if (self->held == 2) rw_written(w);
        else rw_reads(w);
        MAYBE_YIELD();
        if (self->held == 2) {
            rw_leave_write(w);
            if (SOMETIMES(2)) {
                self->held = 0;
                crt_rwlock_unlock_write(&w->rw);
                continue;
            }
            self->held = 1;
            crt_rwlock_downgrade(&w->rw);
            rw_reads(w);
            MAYBE_YIELD();
        }
        CHECK_EQ(w->pair[0], w->pair[1]);
        add(&w->inside, -1);
        self->held = 0;
        crt_rwlock_unlock_read(&w->rw);
    }
    CRT_FINALLY
        if (self->held == 2) {
            rw_leave_write(w);
            crt_rwlock_unlock_write(&w->rw);
        } else if (self->held == 1) {
            add(&w->inside, -1);
            crt_rwlock_unlock_read(&w->rw);
        }
    CRT_END;
}
static void rwlock_thread(world *w)
{
    for (int i = 0; i < STEPS; i++) {
        moved();
        if (i & 1) {
            CHECK_EQ(crt_rwlock_blocking_read(&w->rw), 0);
            rw_reads(w);
            add(&w->inside, -1);
            crt_rwlock_unlock_read(&w->rw);
        } else {
            CHECK_EQ(crt_rwlock_blocking_write(&w->rw), 0);
            rw_written(w);
            rw_leave_write(w);
            crt_rwlock_unlock_write(&w->rw);
        }
    }
}
static void rwlock_check(world *w)
{
    CHECK_EQ(crt_rwlock_try_write(&w->rw), 0);
    CHECK_EQ(w->pair[0], w->made);
    CHECK_EQ(w->pair[1], w->made);
    CHECK_EQ(w->inside, 0);
}

// --- semaphore: eight permits; in odd rounds it is closed halfway

enum { PERMITS = 8 };
static void semaphore_setup(world *w) { crt_semaphore_init(&w->sem, PERMITS); }
static crt_poll semaphore_run(void *frame, crt_cx *cx)
{
    actor *self = frame;
    world *w = self->w;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < STEPS; self->i++) {
        if (w->odd && self->id == 0 && self->i == STEPS / 2) crt_semaphore_close(&w->sem);
        self->k = (int)pick(&self->rng, 6);
        if (SOMETIMES(8)) {
            self->held = (int)crt_semaphore_forget(&w->sem, 2);
            MAYBE_YIELD();
            crt_semaphore_release(&w->sem, (size_t)self->held);
            self->held = 0;
        }
        if (SOMETIMES(4)) self->r = crt_semaphore_try_acquire(&w->sem, (size_t)self->k);
        else TRY(crt_semaphore_acquire(cx, &w->sem, (size_t)self->k));
        if (self->r != 0) {
            CHECK(self->r == GAVE_UP || self->r == CRT_EAGAIN || (self->r == CRT_ECLOSED && w->odd));
            continue;
        }
        self->held = self->k;
        CHECK(add(&w->inside, self->k) <= PERMITS);
        MAYBE_YIELD();
        add(&w->inside, -self->held);
        crt_semaphore_release(&w->sem, (size_t)self->held);
        self->held = 0;
    }
    CRT_FINALLY
        // Forgotten permits were never inside.
        if (self->held && self->held == self->k) add(&w->inside, self->r == 0 ? -self->held : 0);
        crt_semaphore_release(&w->sem, (size_t)self->held);
    CRT_END;
}
static void semaphore_thread(world *w)
{
    for (int i = 0; i < STEPS; i++) {
        size_t n = (size_t)i % 4;
        int r = crt_semaphore_blocking_acquire(&w->sem, n);
        CHECK(r == 0 || (r == CRT_ECLOSED && w->odd));
        if (r == 0) crt_semaphore_release(&w->sem, n);
        moved();
    }
}
static void semaphore_check(world *w)
{
    CHECK_EQ(crt_semaphore_available(&w->sem), PERMITS);
    CHECK_EQ(crt_semaphore_try_acquire(&w->sem, PERMITS), w->odd ? CRT_ECLOSED : 0);
}

// --- notify: `made` counts items, each announced once; consumers sleep when there are
// none. The last task announces the end only when all were taken: a lost wake-up hangs.

static bool take_item(world *w)
{
    long n = get(&w->extra);
    while (n > 0)
        if (__atomic_compare_exchange_n(&w->extra, &n, n - 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return true;
    return false;
}
static void notify_give(world *w, actor *a)
{
    if (a->id % 3 == 2) add(&w->live, 1);   // a producer
}
static crt_poll notify_run(void *frame, crt_cx *cx)
{
    actor *self = frame;
    world *w = self->w;
    CRT_BEGIN(self, cx);
    if (self->id == 1) {
        while (get(&w->live) > 0 || get(&w->used) != get(&w->made)) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
        add(&w->done, 1);
        crt_notify_waiters(&w->notify);
    } else if (self->id % 3 == 2) {
        for (self->i = 0; self->i < STEPS; self->i++) {
            add(&w->made, 1);
            add(&w->extra, 1);
            if (SOMETIMES(2)) crt_notify_one(&w->notify);
            else crt_notify_last(&w->notify);
            moved();
            MAYBE_YIELD();
        }
    } else {
        for (;;) {
            self->snapshot = crt_notify_snapshot(&w->notify);
            if (get(&w->done)) break;
            if (take_item(w)) {
                add(&w->used, 1);
                moved();
                continue;
            }
            TRY(crt_notified_since(cx, &w->notify, self->snapshot));
        }
    }
    CRT_FINALLY
        if (self->id % 3 == 2) add(&w->live, -1);
        // A consumer that leaves had perhaps a notification: it must not stay with it.
        else crt_notify_one(&w->notify);
    CRT_END;
}
static void notify_thread(world *w)
{
    while (!get(&w->done)) {
        if (take_item(w)) add(&w->used, 1);
        else crt_notified_blocking(&w->notify);
        moved();
    }
}
static void notify_check(world *w)
{
    CHECK_EQ(w->made, w->used);
    CHECK_EQ(w->extra, 0);
}

// --- barrier of three; two tasks come again and again until the others have left

static void barrier_setup(world *w) { crt_barrier_init(&w->barrier, 3); }
static void barrier_give(world *w, actor *a)
{
    if (a->id >= 2) add(&w->live, 1);
}
static crt_poll barrier_run(void *frame, crt_cx *cx)
{
    actor *self = frame;
    world *w = self->w;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->id < 2 ? get(&w->live) > 0 : self->i < STEPS / 2;) {
        if (self->id < 2) {
            CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(1), crt_barrier_wait(cx, &w->barrier)));
            moved();
        } else {
            TRY(crt_barrier_wait(cx, &w->barrier));
        }
        if (self->r == GAVE_UP) continue;
        CHECK(self->r == 0 || self->r == 1);
        add(&w->used, 1);
        if (self->r == 1) add(&w->made, 1);
        self->i++;
    }
    CRT_FINALLY
        if (self->id >= 2) add(&w->live, -1);
    CRT_END;
}
static void barrier_check(world *w)
{
    CHECK(w->used <= 3 * w->made);   // who was let go and cancelled saw nothing of it
    CHECK_EQ(w->barrier.arrived, 0);
    CHECK(!w->barrier.q.head);
}

// --- once cell: attempts fail, panic, and are cut short

static crt_poll make_run(void *frame, crt_cx *cx)
{
    child *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(add(&self->w->inside, 1), 1);
    for (; self->yields > 0; self->yields--) CRT_YIELD();
    if (self->ends) CRT_RETURN(-5);
    self->w->plain = 77;
    add(&self->w->made, 1);
    CRT_FINALLY
        add(&self->w->inside, -1);
    CRT_END;
}
static crt_poll once_run(void *frame, crt_cx *cx)
{
    actor *self = frame;
    world *w = self->w;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < STEPS && !crt_once_cell_is_set(&w->cell); self->i++) {
        self->child.w = w;
        self->child.yields = (int)pick(&self->rng, 4);
        // Somebody makes it in the end.
        self->child.ends = self->id == 0 && self->i == STEPS - 1 ? 0 : !SOMETIMES(16);
        if (self->id % 4 == 3) TRY(crt_once_cell_wait(cx, &w->cell));
        else if (self->id == 0) CRT_AWAIT(self->r = crt_once_cell_init(cx, &w->cell, make_run(&self->child, cx)));
        else TRY(crt_once_cell_init(cx, &w->cell, make_run(&self->child, cx)));
        CHECK(self->r == 0 || self->r == -5 || self->r == GAVE_UP);
        if (self->r == 0) CHECK_EQ(w->plain, 77);
        MAYBE_YIELD();
    }
    CRT_END;
}
static void once_check(world *w)
{
    CHECK(crt_once_cell_is_set(&w->cell));
    CHECK_EQ(w->made, 1);
    CHECK_EQ(w->inside, 0);
}

// --- cancel token: a tree of three children, and what the tasks add below them

static void token_setup(world *w)
{
    w->root = crt_cancel_token_new();
    for (int i = 0; i < 3; i++) w->child[i] = crt_cancel_token_child(w->root);
}
static void token_give(world *w, actor *a) { a->token = crt_cancel_token_clone(w->child[a->id % 3]); }
static crt_poll token_run(void *frame, crt_cx *cx)
{
    actor *self = frame;
    world *w = self->w;
    CRT_BEGIN(self, cx);
    if (self->id == 0) {   // cancels one child, and in the end the root
        for (self->i = 0; self->i < STEPS; self->i++) CRT_YIELD();
        crt_cancel_token_cancel(w->child[1]);
        CHECK(!crt_cancel_token_is_cancelled(w->child[2]) || get(&w->done));
        for (self->i = 0; self->i < STEPS; self->i++) CRT_YIELD();
        add(&w->done, 1);
        crt_cancel_token_cancel(w->root);
    }
    for (;;) {
        if (SOMETIMES(3)) {   // one deeper, or back to a clone of one of the three
            crt_cancel_token *t = self->token;
            self->token = SOMETIMES(4) ? crt_cancel_token_clone(w->child[self->id % 3]) : crt_cancel_token_child(t);
            crt_cancel_token_drop(&t);
            if (!self->token) CRT_RETURN(CRT_ENOMEM);
        }
        TRY(crt_cancelled(cx, self->token));
        if (self->r == GAVE_UP) continue;
        CHECK_EQ(self->r, 0);
        CHECK(crt_cancel_token_is_cancelled(self->token));
        break;
    }
    CRT_FINALLY
        if (SOMETIMES(2) && get(&w->done)) crt_cancel_token_drop_guard(&self->token);
        crt_cancel_token_drop(&self->token);
    CRT_END;
}
static void token_check(world *w)
{
    CHECK(crt_cancel_token_is_cancelled(w->root));
    for (int i = 0; i < 3; i++) {
        CHECK(crt_cancel_token_is_cancelled(w->child[i]));
        crt_cancel_token_drop(&w->child[i]);
    }
    crt_cancel_token_drop(&w->root);
}

// --- join set and scope: tasks that end, fail, wait for ever, and spawn others

static crt_poll child_run(void *frame, crt_cx *cx)
{
    child *self = frame;
    CRT_BEGIN(self, cx);
    moved();
    for (; self->yields > 0; self->yields--) CRT_YIELD();
    if (self->scope && self->spawns > 0) {
        add(&self->w->live, 1);
        if (crt_scope_spawn(cx, self->scope, child_run,
                            (&(child){.scope = self->scope, .w = self->w, .yields = self->spawns,
                                      .spawns = self->spawns - 1})) < 0)
            add(&self->w->live, -1);   // being cancelled
    }
    if (self->forever) CRT_AWAIT(crt_sleep(cx, CRT_FOREVER));
    CRT_RETURN(self->ends);
    CRT_FINALLY
        CRT_YIELD();
        add(&self->w->live, -1);
    CRT_END;
}
static crt_poll join_set_run(void *frame, crt_cx *cx)
{
    actor *self = frame;
    world *w = self->w;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < STEPS / 3; self->i++) {
        for (self->k = (int)pick(&self->rng, 5); self->k > 0; self->k--) {
            add(&w->live, 1);
            CHECK_EQ(crt_join_set_spawn(cx, &self->set, child_run,
                                        (&(child){.w = w, .yields = (int)pick(&self->rng, 3), .ends = 7, .forever = SOMETIMES(3)})), 0);
            self->held++;
        }
        if (SOMETIMES(3)) crt_join_set_abort_all(&self->set);
        while (self->held) {
            if (SOMETIMES(4)) {
                self->r = crt_join_set_try_next(&self->set, NULL, &self->result);
                if (self->r == CRT_EAGAIN) self->r = GAVE_UP;
            } else if (self->way & 1) {
                CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(1), crt_join_set_next(cx, &self->set, &self->result)));
            } else {
                CRT_AWAIT(self->r = given_up(crt_select(cx, &self->sel, crt_on(cx, 0, self->got = crt_join_set_next(cx, &self->set, &self->result)), crt_on(cx, 1, crt_yield_now(cx))), self));
            }
            self->way++;
            moved();
            if (self->r == GAVE_UP) {
                if (SOMETIMES(4)) crt_join_set_abort_all(&self->set);
                else MAYBE_YIELD();
                continue;
            }
            CHECK(self->r == CRT_ECANCELED || (self->r == 0 && self->result == 7));
            self->held--;
            CHECK_EQ(crt_join_set_len(&self->set), self->held);
            if (SOMETIMES(8)) break;
        }
        if (SOMETIMES(4)) {
            crt_join_set_drop(&self->set);
            self->held = 0;
        } else if (SOMETIMES(4)) {
            TRY(crt_join_set_shutdown(cx, &self->set));
            self->held = (int)crt_join_set_len(&self->set);
            if (self->r == 0) CHECK_EQ(self->held, 0);
        }
    }
    CRT_FINALLY
        crt_join_set_drop(&self->set);
    CRT_END;
}
static crt_poll scope_body_run(void *frame, crt_cx *cx)
{
    child *self = frame;
    CRT_BEGIN(self, cx);
    for (; self->spawns > 0; self->spawns--) {
        add(&self->w->live, 1);
        add(&self->w->made, 1);
        if (crt_scope_spawn(cx, self->scope, child_run,
                            (&(child){.scope = self->scope, .w = self->w, .yields = self->spawns, .spawns = self->spawns & 1 ? 2 : 0,
                                      .ends = self->ends && self->spawns == 2 ? -9 : 0, .forever = self->forever})) < 0)
            add(&self->w->live, -1);
        if (self->yields) CRT_YIELD();
    }
    CRT_RETURN(3);
    CRT_FINALLY
        CRT_YIELD();
    CRT_END;
}
// The scope, with books of its own that must balance when it is left.
static crt_poll scope_run(void *frame, crt_cx *cx)
{
    actor *self = frame;
    world *w = (world *)(void *)self->token;   // counters of this task alone, in shared memory
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < STEPS / 3; self->i++) {
        self->child = (child){.scope = &self->scope, .w = w, .spawns = (int)pick(&self->rng, 5), .yields = (int)pick(&self->rng, 2),
                              .ends = SOMETIMES(3)};
        self->k = (int)pick(&self->rng, 2);
        if (SOMETIMES(3)) {   // never ends by itself
            self->child.forever = true;
            if (self->k)
                CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(1), crt_scope_try_run(cx, &self->scope, scope_body_run(&self->child, cx))));
            else
                CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(1), crt_scope_run(cx, &self->scope, scope_body_run(&self->child, cx))));
        } else if (self->k) {
            TRY(crt_scope_try_run(cx, &self->scope, scope_body_run(&self->child, cx)));
        } else {
            TRY(crt_scope_run(cx, &self->scope, scope_body_run(&self->child, cx)));
        }
        moved();
        CHECK(self->r == 3 || self->r == -9 || self->r == GAVE_UP);
        CHECK_EQ(get(&w->live), 0);
        CHECK_EQ(crt_scope_len(&self->scope), 0);
    }
    CRT_FINALLY
        CHECK_EQ(get(&w->live), 0);
        free(w);
    CRT_END;
}
static void scope_give(world *w, actor *a)
{
    (void)w;
    a->token = calloc(1, sizeof(world));
}
static void no_check(world *w) { (void)w; }

// --- mpsc: task 0 receives; each sender numbers what it sends

static void mpsc_setup(world *w) { CHECK_EQ(crt_mpsc_new(sizeof(long), w->odd ? 0 : 4, &w->tx, &w->rx), 0); }
static void mpsc_give(world *w, actor *a)
{
    if (a->id) a->tx = crt_mpsc_tx_clone(w->tx);
    if (a->id == ACTORS - 1) crt_mpsc_tx_drop(&w->tx);
}
static void mpsc_got(actor *self, long v)
{
    long from = v % (ACTORS + 1), n = v / (ACTORS + 1);
    CHECK(n > self->last[from]);   // in order; what was given up leaves gaps
    self->last[from] = n;
    add(&self->w->used, 1);
    add(&self->w->sum, -v);
    moved();
}
static crt_poll mpsc_run(void *frame, crt_cx *cx)
{
    actor *self = frame;
    world *w = self->w;
    CRT_BEGIN(self, cx);
    if (self->id == 0) {
        for (;;) {
            if (SOMETIMES(3)) {
                TRY(crt_mpsc_recv_many(cx, w->rx, self->many, 5));
                for (self->k = 0; self->k < self->r; self->k++) mpsc_got(self, self->many[self->k]);
            } else {
                TRY(crt_mpsc_recv(cx, w->rx, &self->value));
                if (self->r == 0) mpsc_got(self, self->value);
            }
            if (self->r == CRT_ECLOSED) break;
        }
        CHECK_EQ(crt_mpsc_len(w->rx), 0);
        CRT_RETURN(0);
    }
    for (self->i = 1; self->i <= STEPS; self->i++) {
        self->value = (long)self->i * (ACTORS + 1) + self->id;
        self->k = (int)pick(&self->rng, 8);
        if (self->k == 0) {
            self->r = crt_mpsc_try_send(self->tx, &self->value);
        } else if (self->k == 1) {
            TRY(crt_mpsc_reserve(cx, self->tx));
            if (self->r == 0) {
                self->held = 1;
                MAYBE_YIELD();
                self->held = 0;
                self->r = SOMETIMES(2) ? crt_mpsc_send_reserved(self->tx, &self->value) : (crt_mpsc_unreserve(self->tx), GAVE_UP);
            }
        } else if (self->k == 2) {
            crt_mpsc_weak_tx *weak = crt_mpsc_tx_downgrade(self->tx);
            crt_mpsc_tx_drop(&self->tx);
            self->tx = crt_mpsc_weak_tx_upgrade(weak);
            crt_mpsc_weak_tx_drop(&weak);
            if (!self->tx) break;   // it was the last
            continue;
        } else {
            TRY(crt_mpsc_send(cx, self->tx, &self->value));
        }
        if (self->r == 0) {
            add(&w->made, 1);
            add(&w->sum, self->value);
        } else {
            CHECK(self->r == GAVE_UP || self->r == CRT_EFULL);
        }
    }
    CRT_FINALLY
        if (self->held) crt_mpsc_unreserve(self->tx);
        crt_mpsc_tx_drop(&self->tx);
    CRT_END;
}
static void mpsc_thread(world *w)
{
    crt_mpsc_tx *tx = w->spare_tx;
    for (long i = 1; i <= STEPS; i++) {
        long v = i * (ACTORS + 1) + ACTORS;
        CHECK_EQ(crt_mpsc_blocking_send(tx, &v), 0);
        add(&w->made, 1);
        add(&w->sum, v);
        moved();
    }
    crt_mpsc_tx_drop(&tx);
}
static void mpsc_check(world *w)
{
    CHECK_EQ(w->made, w->used);
    CHECK_EQ(w->sum, 0);
    CHECK_EQ(crt_mpsc_sender_count(w->rx), 0);
    crt_mpsc_rx_drop(&w->rx);
}

// --- oneshot: even tasks send, odd ones receive; one at a time, over and over

static void count_dropped(void *elem, void *user)
{
    (void)elem;
    add(&((world *)user)->used, 1);
}
static crt_poll oneshot_sender_run(void *frame, crt_cx *cx)
{
    actor *self = frame;
    CRT_BEGIN(self, cx);
    for (; self->i > 0; self->i--) CRT_YIELD();
    if (self->k == 0)
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(1), crt_oneshot_closed(cx, self->w->otx[self->id])));
    if (self->k < 4 && crt_oneshot_send(&self->w->otx[self->id], &self->value) == 0) add(&self->w->made, 1);
    CRT_FINALLY
        crt_oneshot_tx_drop(&self->w->otx[self->id]);
    CRT_END;
}
static crt_poll oneshot_run(void *frame, crt_cx *cx)
{
    actor *self = frame;
    world *w = self->w;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < STEPS / 2; self->i++) {
        CHECK_EQ(crt_oneshot_new(sizeof(long), &w->otx[self->id], &w->orx[self->id]), 0);
        crt_oneshot_on_drop(w->orx[self->id], count_dropped, w);
        CHECK_EQ(crt_join_set_spawn(cx, &self->set, oneshot_sender_run,
                                    (&(actor){.w = w, .id = self->id, .i = (int)pick(&self->rng, 3), .k = (int)pick(&self->rng, 5),
                                              .rng = self->rng | 1, .value = self->i})), 0);
        self->held = 1;
        for (self->k = 0; w->orx[self->id]; self->k++) {
            if (SOMETIMES(5)) {
                self->r = crt_oneshot_try_recv(&w->orx[self->id], &self->value);
            } else {
                TRY(crt_oneshot_recv(cx, &w->orx[self->id], &self->value));
            }
            if (self->r == 0) {
                CHECK_EQ(self->value, self->i);
                add(&w->used, 1);
            }
            if (self->r == GAVE_UP && SOMETIMES(4)) crt_oneshot_rx_close(w->orx[self->id]);
            if (self->r == GAVE_UP && SOMETIMES(4)) crt_oneshot_rx_drop(&w->orx[self->id]);
            if (self->k > 8) MAYBE_YIELD();
        }
        crt_oneshot_rx_drop(&w->orx[self->id]);
        if (SOMETIMES(3)) crt_join_set_abort_all(&self->set);
        CRT_AWAIT(self->r = crt_join_set_next(cx, &self->set, NULL));
        self->held = 0;
        moved();
    }
    CRT_FINALLY
        crt_oneshot_rx_drop(&w->orx[self->id]);
        CRT_AWAIT(crt_join_set_shutdown(cx, &self->set));
        crt_join_set_drop(&self->set);
    CRT_END;
}
static void oneshot_check(world *w)
{
    CHECK_EQ(w->made, w->used);   // received or released, none lost, none twice
}

// --- broadcast: task 0 sends; each receiver gets or misses exactly what was sent

enum { SENDS = 200 };
static void broadcast_setup(world *w) { CHECK_EQ(crt_broadcast_new(sizeof(long), 16, &w->btx), 0); }
static void broadcast_give(world *w, actor *a)
{
    if (a->id) CHECK_EQ(crt_broadcast_subscribe(w->btx, &a->brx), 0);
}
static crt_poll broadcast_run(void *frame, crt_cx *cx)
{
    actor *self = frame;
    world *w = self->w;
    CRT_BEGIN(self, cx);
    if (self->id == 0) {
        for (self->i = 1; self->i <= SENDS; self->i++) {
            self->value = self->i;
            (void)crt_broadcast_send(w->btx, &self->value);
            moved();
            MAYBE_YIELD();
        }
        crt_broadcast_tx_drop(&w->btx);
        CRT_RETURN(0);
    }
    self->last[0] = 0;
    for (;;) {
        if (SOMETIMES(4)) self->r = crt_broadcast_try_recv(self->brx, &self->value, &self->lagged);
        else TRY(crt_broadcast_recv(cx, self->brx, &self->value, &self->lagged));
        if (self->r == 0) {
            CHECK_EQ(self->value, self->last[0] + 1);
            self->last[0] = self->value;
        } else if (self->r == CRT_ELAGGED) {
            CHECK(self->lagged > 0);
            self->last[0] += (long)self->lagged;
        } else if (self->r == CRT_ECLOSED) {
            CHECK_EQ(self->last[0], SENDS);
            break;
        } else {
            CHECK(self->r == GAVE_UP || self->r == CRT_EEMPTY);
            if (self->r == CRT_EEMPTY) CRT_YIELD();
        }
        if (SOMETIMES(32)) {   // start anew, from now on
            crt_broadcast_rx *next;
            CHECK_EQ(crt_broadcast_resubscribe(self->brx, &next), 0);
            crt_broadcast_rx_drop(&self->brx);
            self->brx = next;
            CRT_AWAIT(self->r = crt_broadcast_recv(cx, self->brx, &self->value, &self->lagged));
            if (self->r == CRT_ECLOSED) break;
            CHECK(self->r == 0 || self->r == CRT_ELAGGED);
            if (self->r == 0) CHECK(self->value > self->last[0]);
            if (self->r == CRT_ELAGGED) CRT_AWAIT(self->r = crt_broadcast_recv(cx, self->brx, &self->value, &self->lagged));
            while (self->r == CRT_ELAGGED) self->r = crt_broadcast_try_recv(self->brx, &self->value, &self->lagged);
            CHECK_EQ(self->r, 0);
            self->last[0] = self->value;
        }
    }
    CRT_FINALLY
        crt_broadcast_rx_drop(&self->brx);
    CRT_END;
}

// --- watch: task 0 counts upwards; nobody sees it go back, everybody sees the last

static bool at_least(const void *elem, void *user) { return *(const long *)elem >= *(const long *)user; }
static void watch_setup(world *w)
{
    long none = 0;
    crt_watch_rx *rx;
    CHECK_EQ(crt_watch_new(sizeof(long), &none, &w->wtx, &rx), 0);
    crt_watch_rx_drop(&rx);
}
static void watch_give(world *w, actor *a)
{
    if (a->id) CHECK_EQ(crt_watch_subscribe(w->wtx, &a->wrx), 0);
}
static crt_poll watch_run(void *frame, crt_cx *cx)
{
    actor *self = frame;
    world *w = self->w;
    CRT_BEGIN(self, cx);
    if (self->id == 0) {
        for (self->i = 1; self->i <= SENDS; self->i++) {
            self->value = self->i;
            if (SOMETIMES(4)) crt_watch_send_replace(w->wtx, &self->value, &self->result);
            else if (crt_watch_send(w->wtx, &self->value) < 0) crt_watch_send_replace(w->wtx, &self->value, NULL);
            moved();
            MAYBE_YIELD();
        }
        crt_watch_tx_drop(&w->wtx);
        CRT_RETURN(0);
    }
    for (;;) {
        if (SOMETIMES(4)) {
            self->last[1] = self->last[0] + 10 > SENDS ? SENDS : self->last[0] + 10;
            TRY(crt_watch_wait_for(cx, self->wrx, at_least, &self->last[1], &self->value));
            if (self->r == 0) CHECK(self->value >= self->last[1]);
            if (self->r == 0 && self->value == SENDS) break;
        } else {
            TRY(crt_watch_changed(cx, self->wrx));
            if (self->r == 0) crt_watch_get_update(self->wrx, &self->value);
            if (self->r == 0) CHECK(self->value > self->last[0]);
        }
        if (self->r == 0) {
            CHECK(self->value >= self->last[0]);
            self->last[0] = self->value;
        } else if (self->r == CRT_ECLOSED) {
            crt_watch_get(self->wrx, &self->value);
            CHECK_EQ(self->value, SENDS);
            break;
        }
        if (SOMETIMES(16)) {
            crt_watch_rx *next;
            CHECK_EQ(crt_watch_rx_clone(self->wrx, &next), 0);
            crt_watch_rx_drop(&self->wrx);
            self->wrx = next;
        }
    }
    CRT_FINALLY
        crt_watch_rx_drop(&self->wrx);
    CRT_END;
}

// --- the rounds

static const kind kinds[] = {
    {"mpsc", mpsc_setup, mpsc_give, mpsc_run, mpsc_check, mpsc_thread},
    {"oneshot", NULL, NULL, oneshot_run, oneshot_check, NULL},
    {"broadcast", broadcast_setup, broadcast_give, broadcast_run, no_check, NULL},
    {"watch", watch_setup, watch_give, watch_run, no_check, NULL},
    {"notify", NULL, notify_give, notify_run, notify_check, notify_thread},
    {"semaphore", semaphore_setup, NULL, semaphore_run, semaphore_check, semaphore_thread},
    {"mutex", NULL, NULL, mutex_run, mutex_check, mutex_thread},
    {"rwlock", NULL, NULL, rwlock_run, rwlock_check, rwlock_thread},
    {"barrier", barrier_setup, barrier_give, barrier_run, barrier_check, NULL},
    {"once", NULL, NULL, once_run, once_check, NULL},
    {"token", token_setup, token_give, token_run, token_check, NULL},
    {"join_set", NULL, NULL, join_set_run, no_check, NULL},
    {"scope", NULL, scope_give, scope_run, no_check, NULL},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

typedef struct helper {
    const kind *k;
    world *w;
} helper;
static intptr_t helper_job(void *arg)
{
    helper *h = arg;
    h->k->thread(h->w);
    return 0;
}
typedef struct control {
    crt_frame co;
    const kind *k;
    crt_handle *other;
    crt_duration lasts;
    crt_instant until;
    uint64_t rng;
    world *w;
    helper help;
    crt_join_handle *join[ACTORS], *thread;
    long rounds, aborted, cancelled, failed;
    int i, n, yields;
    crt_poll r;
    intptr_t result;
} control;
static void begin_round(control *self, crt_cx *cx)
{
    const kind *k = self->k;
    memset(self->w, 0, sizeof *self->w);
    self->w->odd = self->rounds & 1;
    if (k->setup) k->setup(self->w);
    if (k->thread && self->rounds % 8 == 0) {
        self->help = (helper){k, self->w};
        self->w->spare_tx = crt_mpsc_tx_clone(self->w->tx);
        CHECK_EQ(crt_spawn_blocking(cx, &self->thread, helper_job, &self->help), 0);
    }
    // Everything is handed out before anybody runs.
    static actor actors[ACTORS];
    for (int i = 0; i < ACTORS; i++) {
        memset(&actors[i], 0, sizeof actors[i]);
        actors[i].w = self->w;
        actors[i].id = i;
        actors[i].rng = (self->rng += 0x9E3779B97F4A7C15ull) | 1;
        if (k->give) k->give(self->w, &actors[i]);
    }
    for (int i = 0; i < ACTORS; i++) {
        int e = i % 4 == 3 ? crt_handle_spawn_join(self->other, &self->join[i], k->run, &actors[i])
                           : crt_spawn_join(cx, &self->join[i], k->run, &actors[i]);
        CHECK_EQ(e, 0);
    }
}
static crt_poll control_run(void *frame, crt_cx *cx)
{
    control *self = frame;
    CRT_BEGIN(self, cx);
    self->until = crt_now(cx) + self->lasts;
    while (crt_now(cx) < self->until && !test__bad) {
        begin_round(self, cx);
        for (self->n = (int)pick(&self->rng, 6); self->n > 0; self->n--) {
            for (self->yields = (int)pick(&self->rng, 8); self->yields > 0; self->yields--) CRT_YIELD();
            crt_abort(self->join[FIRST_ABORTABLE + pick(&self->rng, ACTORS - FIRST_ABORTABLE)]);
            self->aborted++;
        }
        for (self->i = 0; self->i < ACTORS; self->i++) {
            CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], &self->result));
            if (self->r == CRT_ECANCELED) self->cancelled++;
            else CHECK_EQ(self->r, 0);
        }
        if (self->thread) {
            if (self->k->thread == notify_thread) crt_notify_one(&self->w->notify);   // it may sleep after the end
            CRT_AWAIT(self->r = crt_join(cx, &self->thread, NULL));
            CHECK_EQ(self->r, 0);
        }
        while (get(&self->w->live) > 0) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));   // what dropped sets left behind
        CHECK_EQ(self->w->live, 0);
        self->k->check(self->w);
        self->rounds++;
    }
    CRT_END;
}

// Nothing has moved for 20 s: say where everybody is.
enum { STUCK = 200 };   // tenths of a second
static const char *now_running;
static bool over;   // atomic
static void *watchdog(void *arg)
{
    uint64_t seen = 0;
    int still = 0;
    (void)arg;
    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        test_pause_us(100000);
        uint64_t now = __atomic_load_n(&ops, __ATOMIC_RELAXED);
        still = now == seen ? still + 1 : 0;
        seen = now;
        if (still < STUCK) continue;
        fprintf(stderr, "%s: no progress for 20 s\n", __atomic_load_n(&now_running, __ATOMIC_RELAXED));
        for (int i = 0; i < 2; i++) crt_dump(rts[i], stderr);
        printf("0 passed, 1 failed\n");
        fflush(NULL);
        _exit(3);
    }
    return NULL;
}

static void stress(const kind *k, double seconds, int workers)
{
    crt_config c = {.worker_threads = workers}, one = {.worker_threads = 1};
    world *w = calloc(1, sizeof *w);
    control ctl = {.k = k, .w = w, .rng = 88172645463325252ull,
                   .lasts = (crt_duration)(seconds * 1e9)};
    uint64_t before = __atomic_load_n(&ops, __ATOMIC_RELAXED);
    pthread_t dog;
    CHECK_EQ(crt_runtime_new(&c, &rts[0]), 0);
    CHECK_EQ(crt_runtime_new(&one, &rts[1]), 0);
    if (!rts[0] || !rts[1] || !w) exit(3);
    ctl.other = crt_runtime_handle(rts[1]);
    __atomic_store_n(&now_running, k->name, __ATOMIC_RELAXED);
    __atomic_store_n(&over, false, __ATOMIC_RELEASE);
    pthread_create(&dog, NULL, watchdog, NULL);
    CHECK_EQ(crt_block_on(rts[0], control_run, &ctl), 0);
    __atomic_store_n(&over, true, __ATOMIC_RELEASE);
    pthread_join(dog, NULL);
    crt_handle_drop(&ctl.other);
    for (int i = 0; i < 2; i++) crt_runtime_drop(&rts[i]);
    free(w);
    printf("%-10s %8ld rounds %10llu operations %7ld aborts of which %7ld in time\n", k->name, ctl.rounds,
           (unsigned long long)(__atomic_load_n(&ops, __ATOMIC_RELAXED) - before), ctl.aborted, ctl.cancelled);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const char *which = argc > 1 ? argv[1] : "all";
    double seconds = argc > 2 ? atof(argv[2]) : 5;
    int workers = argc > 3 ? atoi(argv[3]) : 4;
    test_init(0, NULL);
    for (int i = 0; i < KINDS; i++) {
        if (strcmp(which, "all") && strcmp(which, kinds[i].name)) continue;
        if (!test__begin(kinds[i].name, NULL)) continue;
        alarm(0);   // the watchdog knows better
        stress(&kinds[i], seconds, workers);
        test__done();
    }
    if (!test__passed && !test__failed) {
        fprintf(stderr, "stress_sync: no such primitive: %s\n", which);
        test__failed = 1;
    }
    return test_end();
}
