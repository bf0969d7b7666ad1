// rwlock, mutex, semaphore, notify, barrier: first come first served, nobody starves,
// and what was granted to a cancelled task is passed on.
//
// Most tests poll the leaf functions by hand, each with a slot of its own, inside one
// poll of one task (see test_channels.c); the last ones use real tasks.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

#define AT(slot_, ...)                                                                     \
    (cx->budget = 128, held = cx->slot, cx->slot = &(slot_), got = (crt_poll)(__VA_ARGS__), \
     cx->slot = held, got)
// The same, with a cancellation delivered to it.
#define CANCEL(slot_, ...) (cx->unwind = 1, AT(slot_, __VA_ARGS__))
#define BODY(name)                                                                         \
    static void name##_body(crt_cx *cx);                                                   \
    static crt_poll name##_run(void *frame, crt_cx *cx)                                    \
    {                                                                                      \
        (void)frame;                                                                       \
        name##_body(cx);                                                                   \
        return 0;                                                                          \
    }                                                                                      \
    static void name(crt_runtime *rt)                                                      \
    {                                                                                      \
        int frame = 0;                                                                     \
        CHECK_EQ(crt_block_on(rt, name##_run, &frame), 0);                                 \
    }                                                                                      \
    static void name##_body(crt_cx *cx)
#define POLLS crt_slot *held, s[6] = {{0}}; crt_poll got; (void)held; (void)got

enum { PENDING = INT_MIN, UNWIND = INT_MIN + 1 };

// --- rwlock

BODY(readers_share_and_a_writer_is_alone)
{
    POLLS;
    crt_rwlock l = {0};
    CHECK_EQ(AT(s[0], crt_rwlock_read(cx, &l)), 0);
    CHECK_EQ(AT(s[1], crt_rwlock_read(cx, &l)), 0);
    CHECK_EQ(crt_rwlock_try_read(&l), 0);
    CHECK_EQ(crt_rwlock_try_write(&l), CRT_EBUSY);
    crt_rwlock_unlock_read(&l);
    crt_rwlock_unlock_read(&l);
    CHECK_EQ(crt_rwlock_try_write(&l), CRT_EBUSY);
    crt_rwlock_unlock_read(&l);
    CHECK_EQ(AT(s[0], crt_rwlock_write(cx, &l)), 0);
    CHECK_EQ(crt_rwlock_try_write(&l), CRT_EBUSY);
    CHECK_EQ(crt_rwlock_try_read(&l), CRT_EBUSY);
    CHECK_EQ(AT(s[1], crt_rwlock_read(cx, &l)), PENDING);
    CHECK_EQ(AT(s[2], crt_rwlock_read(cx, &l)), PENDING);
    crt_rwlock_unlock_write(&l);
    CHECK_EQ(AT(s[2], crt_rwlock_read(cx, &l)), 0);   // both were let in
    CHECK_EQ(AT(s[1], crt_rwlock_read(cx, &l)), 0);
    crt_rwlock_unlock_read(&l);
    crt_rwlock_unlock_read(&l);
    CHECK_EQ(crt_rwlock_try_write(&l), 0);
    crt_rwlock_unlock_write(&l);
}
BODY(a_waiting_writer_is_not_overtaken)
{
    POLLS;
    crt_rwlock l = {0};
    CHECK_EQ(crt_rwlock_try_read(&l), 0);
    CHECK_EQ(AT(s[0], crt_rwlock_write(cx, &l)), PENDING);
    CHECK_EQ(crt_rwlock_try_read(&l), CRT_EBUSY);
    CHECK_EQ(AT(s[1], crt_rwlock_read(cx, &l)), PENDING);
    CHECK_EQ(AT(s[2], crt_rwlock_write(cx, &l)), PENDING);
    CHECK_EQ(AT(s[3], crt_rwlock_read(cx, &l)), PENDING);
    CHECK_EQ(AT(s[4], crt_rwlock_read(cx, &l)), PENDING);
    crt_rwlock_unlock_read(&l);
    CHECK_EQ(AT(s[1], crt_rwlock_read(cx, &l)), PENDING);
    CHECK_EQ(AT(s[0], crt_rwlock_write(cx, &l)), 0);
    crt_rwlock_unlock_write(&l);
    CHECK_EQ(AT(s[3], crt_rwlock_read(cx, &l)), PENDING);   // behind the second writer
    CHECK_EQ(AT(s[2], crt_rwlock_write(cx, &l)), PENDING);
    CHECK_EQ(AT(s[1], crt_rwlock_read(cx, &l)), 0);
    crt_rwlock_unlock_read(&l);
    CHECK_EQ(AT(s[2], crt_rwlock_write(cx, &l)), 0);
    crt_rwlock_unlock_write(&l);
    CHECK_EQ(AT(s[4], crt_rwlock_read(cx, &l)), 0);
    CHECK_EQ(AT(s[3], crt_rwlock_read(cx, &l)), 0);
    crt_rwlock_unlock_read(&l);
    crt_rwlock_unlock_read(&l);
    CHECK_EQ(crt_rwlock_try_write(&l), 0);
}
BODY(a_downgrade_lets_readers_in_but_no_writer)
{
    POLLS;
    crt_rwlock l = {0};
    CHECK_EQ(crt_rwlock_try_write(&l), 0);
    CHECK_EQ(AT(s[0], crt_rwlock_read(cx, &l)), PENDING);
    CHECK_EQ(AT(s[1], crt_rwlock_write(cx, &l)), PENDING);
    CHECK_EQ(AT(s[2], crt_rwlock_read(cx, &l)), PENDING);
    crt_rwlock_downgrade(&l);
    CHECK_EQ(AT(s[0], crt_rwlock_read(cx, &l)), 0);
    CHECK_EQ(AT(s[2], crt_rwlock_read(cx, &l)), PENDING);
    crt_rwlock_unlock_read(&l);
    CHECK_EQ(AT(s[1], crt_rwlock_write(cx, &l)), PENDING);   // the downgraded one still reads
    crt_rwlock_unlock_read(&l);
    CHECK_EQ(AT(s[1], crt_rwlock_write(cx, &l)), 0);
    crt_rwlock_unlock_write(&l);
    CHECK_EQ(AT(s[2], crt_rwlock_read(cx, &l)), 0);
    crt_rwlock_unlock_read(&l);
    CHECK_EQ(crt_rwlock_try_write(&l), 0);
}
BODY(a_cancelled_lock_passes_on)
{
    POLLS;
    crt_rwlock l = {0};
    CHECK_EQ(CANCEL(s[0], crt_rwlock_write(cx, &l)), UNWIND);   // before: nothing taken
    CHECK_EQ(crt_rwlock_try_read(&l), 0);
    // A writer in front of readers gives up: the readers join the one inside.
    CHECK_EQ(AT(s[0], crt_rwlock_write(cx, &l)), PENDING);
    CHECK_EQ(AT(s[1], crt_rwlock_read(cx, &l)), PENDING);
    CHECK_EQ(AT(s[2], crt_rwlock_write(cx, &l)), PENDING);
    CHECK_EQ(CANCEL(s[0], crt_rwlock_write(cx, &l)), UNWIND);
    CHECK_EQ(AT(s[1], crt_rwlock_read(cx, &l)), 0);
    CHECK_EQ(AT(s[2], crt_rwlock_write(cx, &l)), PENDING);
    crt_rwlock_unlock_read(&l);
    crt_rwlock_unlock_read(&l);
    // The writer holds it without knowing, and is cancelled: the next writer has it.
    CHECK_EQ(AT(s[3], crt_rwlock_write(cx, &l)), PENDING);
    CHECK_EQ(AT(s[4], crt_rwlock_read(cx, &l)), PENDING);
    CHECK_EQ(CANCEL(s[2], crt_rwlock_write(cx, &l)), UNWIND);
    CHECK_EQ(AT(s[4], crt_rwlock_read(cx, &l)), PENDING);
    CHECK_EQ(AT(s[3], crt_rwlock_write(cx, &l)), 0);
    crt_rwlock_unlock_write(&l);
    // So for a reader.
    CHECK_EQ(AT(s[5], crt_rwlock_write(cx, &l)), PENDING);
    CHECK_EQ(CANCEL(s[4], crt_rwlock_read(cx, &l)), UNWIND);
    CHECK_EQ(AT(s[5], crt_rwlock_write(cx, &l)), 0);
    crt_rwlock_unlock_write(&l);
    CHECK_EQ(crt_rwlock_try_write(&l), 0);
}

// --- mutex

BODY(mutex_hands_over_in_order)
{
    POLLS;
    crt_mutex m = {0};
    CHECK_EQ(AT(s[0], crt_mutex_lock(cx, &m)), 0);
    CHECK_EQ(crt_mutex_try_lock(&m), CRT_EBUSY);
    CHECK_EQ(AT(s[1], crt_mutex_lock(cx, &m)), PENDING);
    CHECK_EQ(AT(s[2], crt_mutex_lock(cx, &m)), PENDING);
    CHECK_EQ(AT(s[3], crt_mutex_lock(cx, &m)), PENDING);
    crt_mutex_unlock(&m);
    CHECK_EQ(crt_mutex_try_lock(&m), CRT_EBUSY);   // handed over, never free between
    CHECK_EQ(AT(s[2], crt_mutex_lock(cx, &m)), PENDING);
    CHECK_EQ(CANCEL(s[1], crt_mutex_lock(cx, &m)), UNWIND);   // granted: on to the next
    CHECK_EQ(AT(s[3], crt_mutex_lock(cx, &m)), PENDING);
    CHECK_EQ(AT(s[2], crt_mutex_lock(cx, &m)), 0);
    CHECK_EQ(CANCEL(s[3], crt_mutex_lock(cx, &m)), UNWIND);   // queued: forgotten
    crt_mutex_unlock(&m);
    CHECK_EQ(crt_mutex_try_lock(&m), 0);
    CHECK_EQ(AT(s[0], crt_mutex_lock(cx, &m)), PENDING);
    crt_mutex_unlock(&m);
    CHECK_EQ(CANCEL(s[0], crt_mutex_lock(cx, &m)), UNWIND);   // granted, and nobody else: free
    CHECK_EQ(crt_mutex_try_lock(&m), 0);
    crt_mutex_unlock(&m);
    CHECK_EQ(CANCEL(s[0], crt_mutex_lock(cx, &m)), UNWIND);
    CHECK_EQ(crt_mutex_try_lock(&m), 0);
}

// --- semaphore

BODY(a_large_request_collects_and_is_not_overtaken)
{
    POLLS;
    crt_semaphore q;
    crt_semaphore_init(&q, 2);
    CHECK_EQ(AT(s[0], crt_semaphore_acquire(cx, &q, 5)), PENDING);
    CHECK_EQ(crt_semaphore_available(&q), 0);   // the two are its own already
    CHECK_EQ(crt_semaphore_try_acquire(&q, 1), CRT_EAGAIN);
    CHECK_EQ(AT(s[1], crt_semaphore_acquire(cx, &q, 1)), PENDING);
    crt_semaphore_release(&q, 2);
    CHECK_EQ(AT(s[0], crt_semaphore_acquire(cx, &q, 5)), PENDING);
    CHECK_EQ(AT(s[1], crt_semaphore_acquire(cx, &q, 1)), PENDING);
    crt_semaphore_release(&q, 1);
    CHECK_EQ(AT(s[1], crt_semaphore_acquire(cx, &q, 1)), PENDING);
    CHECK_EQ(AT(s[0], crt_semaphore_acquire(cx, &q, 5)), 0);
    crt_semaphore_release(&q, 5);
    CHECK_EQ(AT(s[1], crt_semaphore_acquire(cx, &q, 1)), 0);
    CHECK_EQ(crt_semaphore_available(&q), 4);
    crt_semaphore_release(&q, 1);
    CHECK_EQ(crt_semaphore_available(&q), 5);
}
BODY(cancelled_acquires_give_everything_back)
{
    POLLS;
    crt_semaphore q;
    crt_semaphore_init(&q, 3);
    CHECK_EQ(CANCEL(s[0], crt_semaphore_acquire(cx, &q, 2)), UNWIND);
    CHECK_EQ(crt_semaphore_available(&q), 3);
    CHECK_EQ(AT(s[0], crt_semaphore_acquire(cx, &q, 10)), PENDING);
    CHECK_EQ(AT(s[1], crt_semaphore_acquire(cx, &q, 2)), PENDING);
    CHECK_EQ(AT(s[2], crt_semaphore_acquire(cx, &q, 2)), PENDING);
    CHECK_EQ(CANCEL(s[0], crt_semaphore_acquire(cx, &q, 10)), UNWIND);   // its part goes to the next
    CHECK_EQ(AT(s[2], crt_semaphore_acquire(cx, &q, 2)), PENDING);
    CHECK_EQ(CANCEL(s[1], crt_semaphore_acquire(cx, &q, 2)), UNWIND);    // granted: to the one after
    CHECK_EQ(AT(s[2], crt_semaphore_acquire(cx, &q, 2)), 0);
    CHECK_EQ(crt_semaphore_available(&q), 1);
    crt_semaphore_release(&q, 2);
    // One in the middle leaves: those around it do not notice.
    CHECK_EQ(crt_semaphore_try_acquire(&q, 3), 0);
    for (int i = 0; i < 3; i++) CHECK_EQ(AT(s[i], crt_semaphore_acquire(cx, &q, 1)), PENDING);
    CHECK_EQ(CANCEL(s[1], crt_semaphore_acquire(cx, &q, 1)), UNWIND);
    crt_semaphore_release(&q, 3);
    CHECK_EQ(AT(s[2], crt_semaphore_acquire(cx, &q, 1)), 0);
    CHECK_EQ(AT(s[0], crt_semaphore_acquire(cx, &q, 1)), 0);
    CHECK_EQ(crt_semaphore_available(&q), 1);
}
BODY(acquiring_nothing)
{
    POLLS;
    crt_semaphore q;
    crt_semaphore_init(&q, 0);
    CHECK_EQ(AT(s[0], crt_semaphore_acquire(cx, &q, 0)), 0);
    CHECK_EQ(crt_semaphore_try_acquire(&q, 0), 0);
    // Others wait: it needs nothing that they wait for.
    CHECK_EQ(AT(s[0], crt_semaphore_acquire(cx, &q, 1)), PENDING);
    CHECK_EQ(AT(s[1], crt_semaphore_acquire(cx, &q, 0)), 0);
    CHECK_EQ(crt_semaphore_try_acquire(&q, 0), 0);
    crt_semaphore_release(&q, 1);
    CHECK_EQ(AT(s[0], crt_semaphore_acquire(cx, &q, 1)), 0);
    CHECK_EQ(crt_semaphore_available(&q), 0);
    crt_semaphore_close(&q);
    CHECK_EQ(AT(s[1], crt_semaphore_acquire(cx, &q, 0)), CRT_ECLOSED);
}
BODY(a_closed_semaphore_fails_the_waiting_and_the_later)
{
    POLLS;
    crt_semaphore q;
    crt_semaphore_init(&q, 2);
    CHECK_EQ(AT(s[0], crt_semaphore_acquire(cx, &q, 2)), 0);
    CHECK_EQ(AT(s[1], crt_semaphore_acquire(cx, &q, 1)), PENDING);
    crt_semaphore_release(&q, 2);                                    // s[1] has its one
    CHECK_EQ(AT(s[2], crt_semaphore_acquire(cx, &q, 4)), PENDING);   // and this one of four
    CHECK_EQ(AT(s[3], crt_semaphore_acquire(cx, &q, 1)), PENDING);
    crt_semaphore_close(&q);
    CHECK_EQ(crt_semaphore_available(&q), 1);   // the part came back
    CHECK_EQ(AT(s[1], crt_semaphore_acquire(cx, &q, 1)), 0);   // granted before the close
    CHECK_EQ(AT(s[2], crt_semaphore_acquire(cx, &q, 4)), CRT_ECLOSED);
    CHECK_EQ(CANCEL(s[3], crt_semaphore_acquire(cx, &q, 1)), UNWIND);
    CHECK_EQ(crt_semaphore_available(&q), 1);
    CHECK_EQ(AT(s[4], crt_semaphore_acquire(cx, &q, 1)), CRT_ECLOSED);
    CHECK_EQ(AT(s[4], crt_semaphore_acquire(cx, &q, 0)), CRT_ECLOSED);
    CHECK_EQ(crt_semaphore_try_acquire(&q, 1), CRT_ECLOSED);
    crt_semaphore_release(&q, 1);
    CHECK_EQ(crt_semaphore_available(&q), 2);
}

// --- notify

BODY(one_permit_is_stored)
{
    POLLS;
    crt_notify n = {0};
    crt_notify_one(&n);
    crt_notify_one(&n);
    crt_notify_last(&n);
    CHECK_EQ(CANCEL(s[0], crt_notified(cx, &n)), UNWIND);   // before: the permit stays
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), 0);
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), PENDING);
    CHECK_EQ(CANCEL(s[0], crt_notified(cx, &n)), UNWIND);
    crt_notify_waiters(&n);   // nobody waits: nothing is stored
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), PENDING);
    crt_notify_waiters(&n);
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), 0);
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), PENDING);
    crt__slot_cancel(&s[0]);
}
BODY(one_wakes_the_oldest_and_last_the_newest)
{
    POLLS;
    crt_notify n = {0};
    for (int i = 0; i < 4; i++) CHECK_EQ(AT(s[i], crt_notified(cx, &n)), PENDING);
    crt_notify_one(&n);
    crt_notify_last(&n);
    CHECK_EQ(AT(s[1], crt_notified(cx, &n)), PENDING);
    CHECK_EQ(AT(s[2], crt_notified(cx, &n)), PENDING);
    CHECK_EQ(AT(s[3], crt_notified(cx, &n)), 0);
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), 0);
    crt_notify_waiters(&n);
    CHECK_EQ(AT(s[2], crt_notified(cx, &n)), 0);
    CHECK_EQ(AT(s[1], crt_notified(cx, &n)), 0);
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), PENDING);
    crt__slot_cancel(&s[0]);
}
BODY(a_notification_for_a_cancelled_task_is_passed_on)
{
    POLLS;
    crt_notify n = {0};
    for (int i = 0; i < 3; i++) CHECK_EQ(AT(s[i], crt_notified(cx, &n)), PENDING);
    crt_notify_one(&n);
    CHECK_EQ(CANCEL(s[0], crt_notified(cx, &n)), UNWIND);
    CHECK_EQ(AT(s[2], crt_notified(cx, &n)), PENDING);
    CHECK_EQ(AT(s[1], crt_notified(cx, &n)), 0);
    crt_notify_one(&n);
    CHECK_EQ(CANCEL(s[2], crt_notified(cx, &n)), UNWIND);   // nobody left: stored
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), 0);
    // That of notify_waiters was for this waiter alone: a later one does not get it.
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), PENDING);
    crt_notify_waiters(&n);
    CHECK_EQ(AT(s[1], crt_notified(cx, &n)), PENDING);
    CHECK_EQ(CANCEL(s[0], crt_notified(cx, &n)), UNWIND);
    CHECK_EQ(AT(s[1], crt_notified(cx, &n)), PENDING);
    CHECK_EQ(AT(s[2], crt_notified(cx, &n)), PENDING);
    crt__slot_cancel(&s[1]);
    crt__slot_cancel(&s[2]);
}

// --- barrier

BODY(a_barrier_has_one_leader_each_time)
{
    POLLS;
    crt_barrier b;
    crt_barrier_init(&b, 3);
    for (int round = 0; round < 3; round++) {
        CHECK_EQ(AT(s[0], crt_barrier_wait(cx, &b)), PENDING);
        CHECK_EQ(AT(s[1], crt_barrier_wait(cx, &b)), PENDING);
        CHECK_EQ(AT(s[0], crt_barrier_wait(cx, &b)), PENDING);   // polled again: counted once
        CHECK_EQ(AT(s[2], crt_barrier_wait(cx, &b)), 1);
        CHECK_EQ(AT(s[2], crt_barrier_wait(cx, &b)), PENDING);   // already the next round
        CHECK_EQ(AT(s[0], crt_barrier_wait(cx, &b)), 0);
        CHECK_EQ(AT(s[1], crt_barrier_wait(cx, &b)), 0);
        CHECK_EQ(CANCEL(s[2], crt_barrier_wait(cx, &b)), UNWIND);
    }
    for (size_t n = 0; n < 2; n++) {
        crt_barrier_init(&b, n);   // 0 counts as 1
        CHECK_EQ(AT(s[0], crt_barrier_wait(cx, &b)), 1);
        CHECK_EQ(AT(s[0], crt_barrier_wait(cx, &b)), 1);
    }
}
BODY(who_is_cancelled_at_a_barrier_is_not_counted)
{
    POLLS;
    crt_barrier b;
    crt_barrier_init(&b, 3);
    CHECK_EQ(CANCEL(s[0], crt_barrier_wait(cx, &b)), UNWIND);
    CHECK_EQ(AT(s[0], crt_barrier_wait(cx, &b)), PENDING);
    CHECK_EQ(AT(s[1], crt_barrier_wait(cx, &b)), PENDING);
    CHECK_EQ(CANCEL(s[0], crt_barrier_wait(cx, &b)), UNWIND);
    CHECK_EQ(AT(s[2], crt_barrier_wait(cx, &b)), PENDING);
    CHECK_EQ(AT(s[3], crt_barrier_wait(cx, &b)), 1);
    CHECK_EQ(CANCEL(s[1], crt_barrier_wait(cx, &b)), UNWIND);   // it had been let go: it was counted
    CHECK_EQ(AT(s[2], crt_barrier_wait(cx, &b)), 0);
    CHECK_EQ(AT(s[0], crt_barrier_wait(cx, &b)), PENDING);      // a whole round again
    CHECK_EQ(AT(s[1], crt_barrier_wait(cx, &b)), PENDING);
    CHECK_EQ(AT(s[2], crt_barrier_wait(cx, &b)), 1);
    CHECK_EQ(AT(s[0], crt_barrier_wait(cx, &b)), 0);
    CHECK_EQ(AT(s[1], crt_barrier_wait(cx, &b)), 0);
}

// --- with real tasks, which give up again and again

enum { TASKS = 6, TURNS = 150 };
typedef struct shared {
    crt_mutex mutex;
    crt_rwlock rw;
    crt_semaphore sem;
    crt_barrier barrier;
    crt_notify notify;
    int plain;              // guarded by the mutex; TSan looks on
    int pair[2];            // guarded by the rwlock, always equal
    int inside, most;       // atomic: holders of the semaphore
    int leaders;            // atomic
} shared;
typedef struct user {
    crt_frame co;
    shared *sh;
    int id, i, copy;
    crt_poll r, w;
    CRT_SELECT(2) sel;
} user;
// Waits for expr, but gives up and tries again whenever a yield ends first.
#define STUBBORN(expr)                                                                     \
    do CRT_AWAIT(self->w = crt_select(cx, &self->sel, crt_on(cx, 0, self->r = (expr)),     \
                                      crt_on(cx, 1, crt_yield_now(cx))));                  \
    while (self->w == 1)
static crt_poll user_run(void *frame, crt_cx *cx)
{
    user *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < TURNS; self->i++) {
        STUBBORN(crt_mutex_lock(cx, &self->sh->mutex));
        self->copy = self->sh->plain;
        if (self->i % 8 == 0) CRT_YIELD();   // held over an await
        self->sh->plain = self->copy + 1;
        crt_mutex_unlock(&self->sh->mutex);

        if ((self->id + self->i) % 3 == 0) {
            STUBBORN(crt_rwlock_write(cx, &self->sh->rw));
            self->sh->pair[0]++;
            if (self->i % 8 == 1) CRT_YIELD();
            self->sh->pair[1]++;
            if (self->i & 1) {
                crt_rwlock_downgrade(&self->sh->rw);
                CHECK_EQ(self->sh->pair[0], self->sh->pair[1]);
                crt_rwlock_unlock_read(&self->sh->rw);
            } else {
                crt_rwlock_unlock_write(&self->sh->rw);
            }
        } else {
            STUBBORN(crt_rwlock_read(cx, &self->sh->rw));
            CHECK_EQ(self->sh->pair[0], self->sh->pair[1]);
            if (self->i % 8 == 2) CRT_YIELD();
            CHECK_EQ(self->sh->pair[0], self->sh->pair[1]);
            crt_rwlock_unlock_read(&self->sh->rw);
        }

        STUBBORN(crt_semaphore_acquire(cx, &self->sh->sem, (size_t)(1 + self->id % 3)));
        self->copy = __atomic_add_fetch(&self->sh->inside, 1 + self->id % 3, __ATOMIC_SEQ_CST);
        CHECK(self->copy <= 4);
        if (self->i % 4 == 3) CRT_YIELD();
        __atomic_sub_fetch(&self->sh->inside, 1 + self->id % 3, __ATOMIC_SEQ_CST);
        crt_semaphore_release(&self->sh->sem, (size_t)(1 + self->id % 3));

        if (self->i % 10 == 9) {
            CRT_AWAIT(self->r = crt_barrier_wait(cx, &self->sh->barrier));
            CHECK(self->r == 0 || self->r == 1);
            if (self->r == 1) __atomic_add_fetch(&self->sh->leaders, 1, __ATOMIC_SEQ_CST);
        }
    }
    CRT_END;
}
typedef struct users {
    crt_frame co;
    shared sh;
    crt_join_handle *join[TASKS];
    int i;
    crt_poll r;
} users;
static crt_poll users_run(void *frame, crt_cx *cx)
{
    users *self = frame;
    CRT_BEGIN(self, cx);
    crt_semaphore_init(&self->sh.sem, 4);
    crt_barrier_init(&self->sh.barrier, TASKS);
    for (self->i = 0; self->i < TASKS; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], user_run, (&(user){.sh = &self->sh, .id = self->i})), 0);
    for (self->i = 0; self->i < TASKS; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        CHECK_EQ(self->r, 0);
    }
    CHECK_EQ(self->sh.plain, TASKS * TURNS);
    CHECK_EQ(self->sh.pair[0], TASKS * TURNS / 3);
    CHECK_EQ(self->sh.leaders, TURNS / 10);
    CHECK_EQ(crt_semaphore_available(&self->sh.sem), 4);
    CHECK_EQ(crt_mutex_try_lock(&self->sh.mutex), 0);
    CHECK_EQ(crt_rwlock_try_write(&self->sh.rw), 0);
    CRT_END;
}
static void locks_hold_while_waits_are_cancelled(crt_runtime *rt)
{
    users u = {0};
    CHECK_EQ(crt_block_on(rt, users_run, &u), 0);
}

// Tasks aborted while they queue, in every state: the lock is free in the end, and
// of the notifications none is lost.
typedef struct holder {
    crt_frame co;
    shared *sh;
    bool locked;
    crt_poll r;
} holder;
static crt_poll holder_run(void *frame, crt_cx *cx)
{
    holder *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_mutex_lock(cx, &self->sh->mutex));
    self->locked = true;
    self->sh->plain++;
    CRT_YIELD();
    CRT_FINALLY
        if (self->locked) crt_mutex_unlock(&self->sh->mutex);
        self->locked = false;
    CRT_END;
}
static crt_poll notified_run(void *frame, crt_cx *cx)
{
    holder *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_notified(cx, &self->sh->notify));
    __atomic_add_fetch(&self->sh->leaders, 1, __ATOMIC_SEQ_CST);
    CRT_END;
}
typedef struct aborter {
    crt_frame co;
    shared sh;
    crt_join_handle *join[20];
    int i, ended;
    crt_poll r;
} aborter;
static crt_poll abort_lockers_run(void *frame, crt_cx *cx)
{
    aborter *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 20; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], holder_run, (&(holder){.sh = &self->sh})), 0);
    CRT_YIELD();
    for (self->i = 0; self->i < 20; self->i += 2) {
        crt_abort(self->join[self->i]);
        if (self->i % 3 == 0) CRT_YIELD();
    }
    for (self->i = 0; self->i < 20; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        if (self->i & 1) CHECK_EQ(self->r, 0);
    }
    CHECK(self->sh.plain >= 10);
    CHECK_EQ(crt_mutex_try_lock(&self->sh.mutex), 0);
    CRT_END;
}
static crt_poll abort_notified_run(void *frame, crt_cx *cx)
{
    aborter *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 20; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], notified_run, (&(holder){.sh = &self->sh})), 0);
    CRT_YIELD();
    // Ten go by abort at most; each notification finds one of the others.
    for (self->i = 0; self->i < 20; self->i++) {
        if (self->i & 1) crt_notify_one(&self->sh.notify);
        else crt_abort(self->join[self->i]);
        // The next only when this one was taken: at most one permit is stored.
        if (self->i & 1)
            while (__atomic_load_n(&self->sh.leaders, __ATOMIC_SEQ_CST) < (self->i + 1) / 2) CRT_YIELD();
    }
    for (self->i = 0; self->i < 20; self->i++) crt_abort(self->join[self->i]);
    for (self->i = 0; self->i < 20; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        if (self->r == 0) self->ended++;
    }
    CHECK_EQ(self->ended, 10);
    CHECK_EQ(self->sh.leaders, 10);
    CRT_END;
}
static void aborted_lockers_leave_the_lock_free(crt_runtime *rt)
{
    for (int round = 0; round < 20; round++) {
        aborter a = {0};
        CHECK_EQ(crt_block_on(rt, abort_lockers_run, &a), 0);
    }
}
static void aborted_waiters_lose_no_notification(crt_runtime *rt)
{
    for (int round = 0; round < 20; round++) {
        aborter a = {0};
        CHECK_EQ(crt_block_on(rt, abort_notified_run, &a), 0);
    }
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST_ON_EACH(readers_share_and_a_writer_is_alone);
    TEST_ON_EACH(a_waiting_writer_is_not_overtaken);
    TEST_ON_EACH(a_downgrade_lets_readers_in_but_no_writer);
    TEST_ON_EACH(a_cancelled_lock_passes_on);
    TEST_ON_EACH(mutex_hands_over_in_order);
    TEST_ON_EACH(a_large_request_collects_and_is_not_overtaken);
    TEST_ON_EACH(cancelled_acquires_give_everything_back);
    TEST_ON_EACH(acquiring_nothing);
    TEST_ON_EACH(a_closed_semaphore_fails_the_waiting_and_the_later);
    TEST_ON_EACH(one_permit_is_stored);
    TEST_ON_EACH(one_wakes_the_oldest_and_last_the_newest);
    TEST_ON_EACH(a_notification_for_a_cancelled_task_is_passed_on);
    TEST_ON_EACH(a_barrier_has_one_leader_each_time);
    TEST_ON_EACH(who_is_cancelled_at_a_barrier_is_not_counted);
    TEST_ON_EACH(locks_hold_while_waits_are_cancelled);
    TEST_ON_EACH(aborted_lockers_leave_the_lock_free);
    TEST_ON_EACH(aborted_waiters_lose_no_notification);
    return test_end();
}
