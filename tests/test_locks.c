// rwlock, mutex, semaphore, notify, barrier: first come first served, nobody starves,
// and what was granted to a cancelled task is passed on.
//
// Most tests poll the leaf functions by hand (by_hand.h); the last ones use real tasks.
//
// Held against Tokio's tests (theirs -> ours).
// sync_mutex.rs, sync_mutex_owned.rs:
//   straight_execution, readiness, aborted_future_1, aborted_future_2 -> mutex_hands_over_in_order
//   lock -> locks_hold_while_waits_are_cancelled;  try_lock, try_lock_owned -> mutex_hands_over_in_order
//   debug_format, mutex_debug -> no meaning;  blocking_lock (doc) -> plain_threads_and_two_runtimes
// sync_rwlock.rs:
//   read_shared, write_shared_pending, read_exclusive_pending, write_exclusive_pending, write_shared_drop,
//   read_uncontested, write_uncontested, try_write, try_read_try_write -> readers_share_and_a_writer_is_alone
//   write_read_shared_pending, write_read_shared_drop_pending, write_order -> a_waiting_writer_is_not_overtaken,
//   a_cancelled_lock_passes_on;  multithreaded -> locks_hold_while_waits_are_cancelled
//   downgrade_map, try_downgrade_map -> a_downgrade_lets_readers_in_but_no_writer (there are no guards to map)
//   exhaust_reading, zero_max_readers* -> readers_beyond_the_limit_wait (the limit is fixed: 2^28)
//   into_inner -> no meaning
// sync_semaphore.rs, _owned.rs, semaphore_batch.rs, loom_semaphore_batch.rs:
//   no_permits, try_acquire*, acquire*, poll_acquire_*_available, try_acquire_*_(un)available -> permits_come_and_go
//   poll_acquire_*_unavailable, batch, release_during_acquire -> a_large_request_collects_and_is_not_overtaken
//   poll_acquire_one_zero_permits -> acquiring_nothing
//   add_permits*, add_max_amount_permits, max_permits_doesnt_panic, no_panic_at_maxpermits -> the_most_permits
//   add_more_than_max_*, panic_when_exceeds_maxpermits, validates_max_permits -> asserted, see CRT_MAX_PERMITS
//   forget*, forget_permits_basic, update_permits_many_times -> forgetting
//   close_semaphore_*, basic_closing, concurrent_close -> a_closed_semaphore_fails_the_waiting_and_the_later
//   cancel_acquire_releases_permits, concurrent_cancel, poll_and_cancel -> cancelled_acquires_give_everything_back
//   merge, merge_unrelated_permits, split, release_permits_at_drop -> no permit objects: numbers
//   blocking_acquire* -> plain_threads_and_two_runtimes;  *_in_async_context -> blocking_inside_a_task_is_refused
//   stress_test -> locks_hold_while_waits_are_cancelled, stress_sync.c
// sync_barrier.rs: zero_does_not_block, single, tango, lots -> a_barrier_has_one_leader_each_time, a_large_barrier;
//   barrier_future_is_send -> no meaning
// Cancelled before, during, after the grant, by every means: test_cancel.c.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#include "by_hand.h"
#include <pthread.h>
// Permits in one call.
#define MOST ((size_t)(CRT_MAX_PERMITS > UINT32_MAX ? UINT32_MAX : CRT_MAX_PERMITS))

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
    CHECK_EQ(AT(s[0], crt_semaphore_acquire_many(cx, &q, 5)), PENDING);
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

// --- more of the semaphore, the rwlock and the barrier

BODY(permits_come_and_go)
{
    POLLS;
    crt_semaphore q;
    crt_semaphore_init(&q, 3);
    CHECK_EQ(crt_semaphore_try_acquire(&q, 4), CRT_EAGAIN);
    CHECK_EQ(crt_semaphore_try_acquire(&q, 2), 0);
    CHECK_EQ(AT(s[0], crt_semaphore_acquire(cx, &q, 1)), 0);
    CHECK_EQ(crt_semaphore_available(&q), 0);
    CHECK_EQ(crt_semaphore_try_acquire(&q, 1), CRT_EAGAIN);
    CHECK_EQ(AT(s[0], crt_semaphore_acquire(cx, &q, 1)), PENDING);
    crt_semaphore_release(&q, 0);
    CHECK_EQ(AT(s[0], crt_semaphore_acquire(cx, &q, 1)), PENDING);
    crt_semaphore_release(&q, 1);
    CHECK_EQ(AT(s[0], crt_semaphore_acquire(cx, &q, 1)), 0);
    crt_semaphore_release(&q, 3);
    CHECK_EQ(AT(s[0], crt_semaphore_acquire(cx, &q, MOST + 1)), CRT_EINVAL);
    CHECK_EQ(crt_semaphore_available(&q), 3);
    crt_semaphore none = {{{0, 0, 0, 0}, 0}};   // all zero: no permits
    CHECK_EQ(crt_semaphore_try_acquire(&none, 1), CRT_EAGAIN);
    crt_semaphore_release(&none, 2);
    CHECK_EQ(crt_semaphore_try_acquire(&none, 2), 0);
}
BODY(the_most_permits)
{
    POLLS;
    crt_semaphore q;
    crt_semaphore_init(&q, CRT_MAX_PERMITS);
    CHECK(crt_semaphore_available(&q) == CRT_MAX_PERMITS);
    CHECK_EQ(AT(s[0], crt_semaphore_acquire(cx, &q, MOST)), 0);
    crt_semaphore_release(&q, MOST);
    CHECK_EQ(crt_semaphore_try_acquire(&q, CRT_MAX_PERMITS), 0);
    crt_semaphore_release(&q, CRT_MAX_PERMITS);
    crt_semaphore_close(&q);
    CHECK(crt_semaphore_is_closed(&q) && crt_semaphore_available(&q) == CRT_MAX_PERMITS);
}
BODY(forgetting)
{
    POLLS;
    crt_semaphore q;
    crt_semaphore_init(&q, 10);
    CHECK_EQ(crt_semaphore_forget(&q, 4), 4);
    CHECK_EQ(crt_semaphore_available(&q), 6);
    CHECK_EQ(crt_semaphore_forget(&q, 100), 6);
    CHECK_EQ(crt_semaphore_forget(&q, 1), 0);
    CHECK_EQ(AT(s[0], crt_semaphore_acquire(cx, &q, 3)), PENDING);
    crt_semaphore_release(&q, 2);
    CHECK_EQ(crt_semaphore_forget(&q, 2), 0);   // they belong to who waits
    crt_semaphore_release(&q, 2);
    CHECK_EQ(AT(s[0], crt_semaphore_acquire(cx, &q, 3)), 0);
    CHECK_EQ(crt_semaphore_forget(&q, 2), 1);
    crt_semaphore_release(&q, 3);
    crt_semaphore_close(&q);
    CHECK_EQ(crt_semaphore_forget(&q, 5), 3);   // also when it is closed
    CHECK_EQ(crt_semaphore_available(&q), 0);
    for (int i = 0; i < 1000; i++) {
        crt_semaphore_release(&q, (size_t)i);
        CHECK_EQ(crt_semaphore_forget(&q, (size_t)i), i);
    }
}
BODY(readers_beyond_the_limit_wait)
{
    POLLS;
    crt_rwlock l = {0};
    l.p.word = (size_t)0 - (size_t)(CRT__READERS - 1) * CRT__PERMIT;   // as if all but one were inside
    CHECK_EQ(AT(s[0], crt_rwlock_read(cx, &l)), 0);
    CHECK_EQ(crt_rwlock_try_read(&l), CRT_EBUSY);
    CHECK_EQ(AT(s[1], crt_rwlock_read(cx, &l)), PENDING);
    crt_rwlock_unlock_read(&l);
    CHECK_EQ(AT(s[1], crt_rwlock_read(cx, &l)), 0);
    CHECK_EQ(crt_rwlock_try_write(&l), CRT_EBUSY);
}
BODY(blocking_inside_a_task_is_refused)
{
    (void)cx;
    crt_mutex m = {0};
    crt_rwlock l = {0};
    crt_semaphore q;
    crt_semaphore_init(&q, 1);
    CHECK_EQ(crt_mutex_blocking_lock(&m), CRT_ENESTED);
    CHECK_EQ(crt_rwlock_blocking_read(&l), CRT_ENESTED);
    CHECK_EQ(crt_rwlock_blocking_write(&l), CRT_ENESTED);
    CHECK_EQ(crt_semaphore_blocking_acquire(&q, 1), CRT_ENESTED);
    CHECK_EQ(crt_mutex_try_lock(&m), 0);   // nothing was taken
    CHECK_EQ(crt_rwlock_try_write(&l), 0);
    CHECK_EQ(crt_semaphore_available(&q), 1);
}
typedef struct crowd {
    crt_frame co;
    crt_barrier barrier;
    crt_join_set set;
    int i, leaders, n;
    crt_poll r;
    intptr_t result;
} crowd;
static crt_poll crowd_one_run(void *frame, crt_cx *cx)
{
    struct { crt_frame co; crt_barrier *b; crt_poll r; } *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_barrier_wait(cx, self->b));
    CRT_RETURN(self->r);
    CRT_END;
}
static crt_poll crowd_run(void *frame, crt_cx *cx)
{
    crowd *self = frame;
    CRT_BEGIN(self, cx);
    crt_barrier_init(&self->barrier, 100);
    for (self->i = 0; self->i < 1000; self->i++) {
        struct { crt_frame co; crt_barrier *b; crt_poll r; } one = {.b = &self->barrier};
        CHECK_EQ(crt_join_set_spawn(cx, &self->set, crowd_one_run, &one), 0);
    }
    for (self->i = 0; self->i < 1000; self->i++) {
        CRT_AWAIT(self->r = crt_join_set_next(cx, &self->set, &self->result));
        CHECK_EQ(self->r, 0);
        self->leaders += self->result == 1;
    }
    CHECK_EQ(self->leaders, 10);
    CRT_FINALLY
        crt_join_set_drop(&self->set);
    CRT_END;
}
static void a_large_barrier(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, crowd_run, &(crowd){0}), 0); }

// --- budget: what is always free lets others run; to wait costs nothing

BODY(waiting_costs_no_budget)
{
    POLLS;
    crt_mutex m = {0};
    crt_semaphore q;
    crt_rwlock l = {0};
    crt_barrier b;
    crt_semaphore_init(&q, 0);
    crt_barrier_init(&b, 2);
    CHECK_EQ(crt_mutex_try_lock(&m), 0);
    CHECK_EQ(crt_rwlock_try_write(&l), 0);
    for (int i = 0; i < 3; i++) {
        CHECK(AT(s[0], crt_mutex_lock(cx, &m)) == PENDING && cx->budget == 128);
        CHECK(AT(s[1], crt_semaphore_acquire(cx, &q, 1)) == PENDING && cx->budget == 128);
        CHECK(AT(s[2], crt_rwlock_read(cx, &l)) == PENDING && cx->budget == 128);
        CHECK(AT(s[3], crt_barrier_wait(cx, &b)) == PENDING && cx->budget == 128);
    }
    crt_mutex_unlock(&m);
    crt_semaphore_release(&q, 1);
    crt_rwlock_unlock_write(&l);
    CHECK(AT(s[0], crt_mutex_lock(cx, &m)) == 0 && cx->budget == 127);
    CHECK(AT(s[1], crt_semaphore_acquire(cx, &q, 1)) == 0 && cx->budget == 127);
    CHECK(AT(s[2], crt_rwlock_read(cx, &l)) == 0 && cx->budget == 127);
    CHECK(AT(s[4], crt_barrier_wait(cx, &b)) == 1 && cx->budget == 127);
    CHECK(AT(s[3], crt_barrier_wait(cx, &b)) == 0 && cx->budget == 127);
    // Without a budget a grant stays where it is until there is one.
    CHECK(AT(s[0], crt_mutex_lock(cx, &m)) == PENDING);
    crt_mutex_unlock(&m);
    crt_slot *was = cx->slot;
    cx->slot = &s[0];
    cx->budget = 0;
    CHECK_EQ(crt_mutex_lock(cx, &m), PENDING);
    cx->slot = was;
    cx->deferred = 0;
    CHECK_EQ(crt_mutex_try_lock(&m), CRT_EBUSY);
    CHECK_EQ(AT(s[0], crt_mutex_lock(cx, &m)), 0);
}
typedef struct hog {
    crt_frame co;
    int what, *ran;
    long turns;
    crt_mutex m;
    crt_rwlock l;
    crt_semaphore q;
    crt_poll r;
} hog;
static crt_poll says_it_ran(void *frame, crt_cx *cx)
{
    (void)cx;
    __atomic_store_n(*(int **)frame, 1, __ATOMIC_SEQ_CST);
    return 0;
}
static crt_poll hog_run(void *frame, crt_cx *cx)
{
    hog *self = frame;
    CRT_BEGIN(self, cx);
    crt_semaphore_init(&self->q, 1);
    CHECK_EQ(crt_spawn(cx, says_it_ran, &self->ran), 0);
    while (!__atomic_load_n(self->ran, __ATOMIC_SEQ_CST)) {
        CRT_AWAIT(self->r = self->what == 0   ? crt_mutex_lock(cx, &self->m)
                            : self->what == 1 ? crt_semaphore_acquire(cx, &self->q, 1)
                                              : crt_rwlock_write(cx, &self->l));
        if (self->what == 0) crt_mutex_unlock(&self->m);
        else if (self->what == 1) crt_semaphore_release(&self->q, 1);
        else crt_rwlock_unlock_write(&self->l);
        self->turns++;
    }
    // 128 in the first poll, and the one that it was interrupted in.
    if (crt_runtime_config(cx->rt)->worker_threads == 1) CHECK(self->turns <= 129);
    CRT_END;
}
static void what_is_free_lets_others_run(crt_runtime *rt)
{
    for (int what = 0; what < 3; what++) {
        int ran = 0;
        CHECK_EQ(crt_block_on(rt, hog_run, &(hog){.what = what, .ran = &ran}), 0);
    }
}

// --- plain threads and tasks of two runtimes on the same objects

enum { LAPS = 200, THREADS = 3 };
typedef struct common {
    crt_mutex m;
    crt_rwlock l;
    crt_semaphore q;
    long a, b, c;   // under m; under l; atomic: inside q
} common;
typedef struct lapper {
    crt_frame co;
    common *c;
    int i;
    crt_poll r;
} lapper;
static void inside(common *c)
{
    CHECK(__atomic_add_fetch(&c->c, 2, __ATOMIC_SEQ_CST) <= 4);
    __atomic_sub_fetch(&c->c, 2, __ATOMIC_SEQ_CST);
}
static crt_poll lapper_run(void *frame, crt_cx *cx)
{
    lapper *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < LAPS; self->i++) {
        CRT_AWAIT(self->r = crt_mutex_lock(cx, &self->c->m));
        self->c->a++;
        if (self->i % 16 == 0) CRT_YIELD();
        crt_mutex_unlock(&self->c->m);
        CRT_AWAIT(self->r = crt_rwlock_write(cx, &self->c->l));
        self->c->b++;
        crt_rwlock_downgrade(&self->c->l);
        if (self->i % 16 == 1) CRT_YIELD();
        crt_rwlock_unlock_read(&self->c->l);
        CRT_AWAIT(self->r = crt_semaphore_acquire(cx, &self->c->q, 2));
        inside(self->c);
        if (self->i % 16 == 2) CRT_YIELD();
        crt_semaphore_release(&self->c->q, 2);
    }
    CRT_END;
}
static void *lap_thread(void *arg)
{
    common *c = arg;
    for (int i = 0; i < LAPS; i++) {
        CHECK_EQ(crt_mutex_blocking_lock(&c->m), 0);
        c->a++;
        crt_mutex_unlock(&c->m);
        CHECK_EQ(crt_rwlock_blocking_write(&c->l), 0);
        long now = ++c->b;
        crt_rwlock_unlock_write(&c->l);
        CHECK_EQ(crt_rwlock_blocking_read(&c->l), 0);
        CHECK(c->b >= now);
        crt_rwlock_unlock_read(&c->l);
        CHECK_EQ(crt_semaphore_blocking_acquire(&c->q, 2), 0);
        inside(c);
        crt_semaphore_release(&c->q, 2);
    }
    return NULL;
}
static void *until_closed(void *arg)
{
    common *c = arg;
    CHECK_EQ(crt_semaphore_blocking_acquire(&c->q, 9), CRT_ECLOSED);
    return NULL;
}
static void plain_threads_and_two_runtimes(void)
{
    common c = {0};
    crt_runtime *rt[2];
    crt_handle *h[2];
    crt_join_handle *join[6];
    pthread_t t[THREADS];
    crt_semaphore_init(&c.q, 4);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(crt_runtime_new(&(crt_config){.worker_threads = 1 + i}, &rt[i]), 0);
        h[i] = crt_runtime_handle(rt[i]);
    }
    for (int i = 0; i < 6; i++) CHECK_EQ(crt_handle_spawn_join(h[i & 1], &join[i], lapper_run, (&(lapper){.c = &c})), 0);
    for (int i = 0; i < THREADS; i++) CHECK_EQ(pthread_create(&t[i], NULL, lap_thread, &c), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < 6; i++) CHECK_EQ(crt_join_blocking(&join[i], NULL), 0);
    CHECK_EQ(c.a, (6 + THREADS) * LAPS);
    CHECK_EQ(c.b, (6 + THREADS) * LAPS);
    CHECK_EQ(crt_semaphore_available(&c.q), 4);
    // A thread that waits is told of the close.
    CHECK_EQ(pthread_create(&t[0], NULL, until_closed, &c), 0);
    while (crt_semaphore_available(&c.q)) test_pause_us(50);   // it has collected what there was
    crt_semaphore_close(&c.q);
    pthread_join(t[0], NULL);
    CHECK_EQ(crt_semaphore_available(&c.q), 4);
    for (int i = 0; i < 2; i++) {
        crt_handle_drop(&h[i]);
        crt_runtime_drop(&rt[i]);
    }
}

// Who waits for crt's own lock for long sleeps a moment between the looks, not a clock tick
// (15.6 ms on Windows). The shortest of ten rounds: others may have the processors.
static void a_nap_is_short(void)
{
    int64_t least = CRT_SEC(60);
    for (int i = 0; i < 10; i++) {
        int64_t begun = crt__clock();
        for (int k = 0; k < 4; k++) crt__nap();
        least = crt__min(least, crt__clock() - begun);
    }
    CHECK(least > 0 && least < CRT_MS(15));
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST(a_nap_is_short);
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
    TEST_ON_EACH(permits_come_and_go);
    TEST_ON_EACH(the_most_permits);
    TEST_ON_EACH(forgetting);
    TEST_ON_EACH(readers_beyond_the_limit_wait);
    TEST_ON_EACH(blocking_inside_a_task_is_refused);
    TEST_ON_EACH(a_large_barrier);
    TEST_ON_EACH(waiting_costs_no_budget);
    TEST_ON_EACH(what_is_free_lets_others_run);
    TEST(plain_threads_and_two_runtimes);
    return test_end();
}
