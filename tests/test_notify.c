// notify: permits, order, passing on, rounds.
//
// Held against Tokio's sync_notify.rs and sync_notify_owned.rs (theirs -> ours):
//   notify_notified_one                    -> a_stored_permit_serves_one
//   notify_multi_notified_one, notify_multi_notified_last -> permits_do_not_add_up
//   notified_one_notify                    -> one_that_waits
//   notified_multi_notify                  -> one_wakes_the_oldest (also test_locks.c)
//   notify_notified_multi                  -> a_stored_permit_serves_one
//   notified_drop_notified_notify          -> one_who_has_left_gets_nothing
//   notified_multi_notify_drop_one         -> dropped_after_the_grant_passes_on
//   notified_multi_notify_one_drop, notified_multi_notify_last_drop -> dropped_after_the_grant_passes_on
//   notify_in_drop_after_wake              -> notifying_from_a_cleanup
//   notify_one_after_dropped_all           -> one_after_all_is_stored
//   test_notify_one_not_enabled            -> a_stored_permit_serves_one (an unpolled wait does not exist)
//   test_notify_one_after_enable, test_poll_after_enable, test_enable_after_poll -> snapshots
//   test_enable_consumes_permit            -> has no meaning: a snapshot takes nothing
//   test_waker_update                      -> a_wait_moves_to_another_slot (wakers are the task's)
//   unpolled_future_completed_by_notify_waiters_preserves_notify_one_permit -> a_round_leaves_the_permit
//   notify_clones_waker_before_lock, notify_waiters_handles_panicking_waker -> no user code runs in a wake
//   notify_simple (loom), watch_test       -> model_sync.c, test_channels.c
//   the owned forms                        -> a pointer; the object must stay
// Cancelled before, during, after the grant: test_cancel.c. Budget: budget.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#include "by_hand.h"
#include <pthread.h>

BODY(a_stored_permit_serves_one)
{
    POLLS;
    crt_notify n = {0};
    crt_notify_one(&n);
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), 0);
    CHECK_EQ(AT(s[1], crt_notified(cx, &n)), PENDING);
    crt_notify_last(&n);
    CHECK_EQ(AT(s[1], crt_notified(cx, &n)), 0);
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), PENDING);
    FORGET(s[0]);
}
BODY(permits_do_not_add_up)
{
    POLLS;
    crt_notify n = {0};
    for (int i = 0; i < 5; i++) crt_notify_one(&n);
    for (int i = 0; i < 5; i++) crt_notify_last(&n);
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), 0);
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), PENDING);
    FORGET(s[0]);
}
BODY(one_that_waits)
{
    POLLS;
    crt_notify n = {0};
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), PENDING);
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), PENDING);   // polled without a reason
    crt_notify_one(&n);
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), 0);
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), PENDING);   // nothing was stored besides
    FORGET(s[0]);
}
BODY(one_wakes_the_oldest)
{
    POLLS;
    crt_notify n = {0};
    for (int i = 0; i < 3; i++) CHECK_EQ(AT(s[i], crt_notified(cx, &n)), PENDING);
    for (int i = 0; i < 3; i++) {
        crt_notify_one(&n);
        for (int k = 2; k > i; k--) CHECK_EQ(AT(s[k], crt_notified(cx, &n)), PENDING);
        CHECK_EQ(AT(s[i], crt_notified(cx, &n)), 0);
    }
    for (int i = 0; i < 3; i++) CHECK_EQ(AT(s[i], crt_notified(cx, &n)), PENDING);
    for (int i = 2; i >= 0; i--) {
        crt_notify_last(&n);
        for (int k = 0; k < i; k++) CHECK_EQ(AT(s[k], crt_notified(cx, &n)), PENDING);
        CHECK_EQ(AT(s[i], crt_notified(cx, &n)), 0);
    }
}
BODY(one_who_has_left_gets_nothing)
{
    POLLS;
    crt_notify n = {0};
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), PENDING);
    FORGET(s[0]);
    CHECK_EQ(AT(s[1], crt_notified(cx, &n)), PENDING);
    crt_notify_one(&n);
    CHECK_EQ(AT(s[1], crt_notified(cx, &n)), 0);
}
BODY(dropped_after_the_grant_passes_on)
{
    POLLS;
    for (int last = 0; last < 2; last++)
        for (int by_force = 0; by_force < 2; by_force++) {
            crt_notify n = {0};
            for (int i = 0; i < 3; i++) CHECK_EQ(AT(s[i], crt_notified(cx, &n)), PENDING);
            int first = last ? 2 : 0, next = 1, other = last ? 0 : 2;
            if (last) crt_notify_last(&n);
            else crt_notify_one(&n);
            if (by_force) FORGET(s[first]);
            else CHECK_EQ(CANCEL(s[first], crt_notified(cx, &n)), UNWIND);
            CHECK_EQ(AT(s[other], crt_notified(cx, &n)), PENDING);
            CHECK_EQ(AT(s[next], crt_notified(cx, &n)), 0);
            FORGET(s[other]);
            CHECK(!(n.q.extra & CRT__NOTIFY_PERMIT) && !n.q.head);   // nothing stored, nobody waits
        }
}
BODY(one_after_all_is_stored)
{
    POLLS;
    crt_notify n = {0};
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), PENDING);
    crt_notify_waiters(&n);
    crt_notify_one(&n);   // nobody waits any more
    FORGET(s[0]);
    CHECK_EQ(AT(s[1], crt_notified(cx, &n)), 0);
    CHECK_EQ(AT(s[1], crt_notified(cx, &n)), PENDING);
    FORGET(s[1]);
}
BODY(a_round_leaves_the_permit)
{
    POLLS;
    crt_notify n = {0};
    uint32_t before = crt_notify_snapshot(&n);
    crt_notify_waiters(&n);
    crt_notify_one(&n);
    CHECK_EQ(AT(s[0], crt_notified_since(cx, &n, before)), 0);   // ended by the round
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), 0);                 // the permit is still there
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), PENDING);
    FORGET(s[0]);
}
BODY(snapshots)
{
    POLLS;
    crt_notify n = {0};
    uint32_t now = crt_notify_snapshot(&n);
    CHECK_EQ(AT(s[0], crt_notified_since(cx, &n, now)), PENDING);
    CHECK_EQ(crt_notify_snapshot(&n), now);
    crt_notify_one(&n);
    CHECK_EQ(AT(s[0], crt_notified_since(cx, &n, now)), 0);
    crt_notify_one(&n);   // a permit serves it as well
    CHECK_EQ(AT(s[0], crt_notified_since(cx, &n, now)), 0);
    CHECK_EQ(AT(s[0], crt_notified_since(cx, &n, now)), PENDING);
    crt_notify_waiters(&n);
    CHECK_EQ(AT(s[0], crt_notified_since(cx, &n, now)), 0);
    CHECK_EQ(AT(s[0], crt_notified_since(cx, &n, now)), 0);   // of that snapshot, for good
    CHECK(crt_notify_snapshot(&n) != now);
    now = crt_notify_snapshot(&n);
    CHECK_EQ(AT(s[0], crt_notified_since(cx, &n, now)), PENDING);
    CHECK_EQ(CANCEL(s[0], crt_notified_since(cx, &n, now)), UNWIND);
    CHECK_EQ(CANCEL(s[0], crt_notified_since(cx, &n, now - 1)), UNWIND);   // though it would be ready
}
BODY(a_wait_moves_to_another_slot)
{
    POLLS;
    crt_notify a = {0}, b = {0};
    CHECK_EQ(AT(s[0], crt_notified(cx, &a)), PENDING);
    crt_notify_one(&a);
    CHECK_EQ(AT(s[0], crt_notified(cx, &b)), PENDING);   // given up by hand, after its grant
    CHECK_EQ(AT(s[1], crt_notified(cx, &a)), 0);         // which was not lost
    crt_notify_one(&b);
    CHECK_EQ(AT(s[0], crt_notified(cx, &b)), 0);
}

// --- a body that notifies while it is being cancelled by the same notify

typedef struct cleaner {
    crt_frame co;
    crt_notify *n;
    bool all;
    int *woken;
} cleaner;
static crt_poll cleaner_run(void *frame, crt_cx *cx)
{
    cleaner *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_notified(cx, self->n));
    __atomic_add_fetch(self->woken, 1, __ATOMIC_SEQ_CST);
    CRT_FINALLY
        if (self->all) crt_notify_waiters(self->n);
        else crt_notify_one(self->n);
    CRT_END;
}
typedef struct chain {
    crt_frame co;
    crt_notify n;
    crt_join_handle *join[8];
    int woken, i;
    crt_poll r;
} chain;
static crt_poll chain_run(void *frame, crt_cx *cx)
{
    chain *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 8; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], cleaner_run, (&(cleaner){.n = &self->n, .woken = &self->woken})), 0);
    CRT_YIELD();
    crt_abort(self->join[0]);   // its cleanup wakes the next, whose end wakes the next
    for (self->i = 0; self->i < 8; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        CHECK(self->r == 0 || (self->i == 0 && self->r == CRT_ECANCELED));
    }
    CHECK(self->woken >= 7);
    CRT_END;
}
static void notifying_from_a_cleanup(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, chain_run, &(chain){0}), 0); }

// --- budget: permits that are always there let others run; to wait costs nothing

typedef struct busy {
    crt_frame co;
    crt_notify n;
    long turns;
    int *ran;
    crt_poll r;
} busy;
static crt_poll neighbour_run(void *frame, crt_cx *cx)
{
    (void)cx;
    __atomic_store_n(*(int **)frame, 1, __ATOMIC_SEQ_CST);
    return 0;
}
static crt_poll busy_run(void *frame, crt_cx *cx)
{
    busy *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn(cx, neighbour_run, &self->ran), 0);
    while (!__atomic_load_n(self->ran, __ATOMIC_SEQ_CST)) {
        crt_notify_one(&self->n);
        CRT_AWAIT(self->r = crt_notified(cx, &self->n));
        self->turns++;
    }
    // 128 in the first poll, and the one that it was interrupted in.
    if (crt_runtime_config(cx->rt)->worker_threads == 1) CHECK(self->turns <= 129);
    CRT_END;
}
static void budget(crt_runtime *rt)
{
    int ran = 0;
    CHECK_EQ(crt_block_on(rt, busy_run, &(busy){.ran = &ran}), 0);
}
BODY(waiting_costs_no_budget)
{
    POLLS;
    crt_notify n = {0};
    uint32_t before;
    (void)AT(s[0], crt_notified(cx, &n));
    CHECK_EQ(cx->budget, 128);
    before = cx->budget;
    crt_notify_one(&n);
    CHECK_EQ(AT(s[0], crt_notified(cx, &n)), 0);
    CHECK_EQ(cx->budget, before - 1);
}

// --- plain threads and two runtimes on one object: a token goes round, nobody sleeps through it

enum { ROUNDS = 300 };
typedef struct ring {
    crt_notify at[4];
    long passes;   // whoever has the token writes it: TSan looks on
} ring;
typedef struct stop {
    crt_frame co;
    ring *ring;
    int at, i;
    crt_poll r;
} stop;
static crt_poll stop_run(void *frame, crt_cx *cx)
{
    stop *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < ROUNDS; self->i++) {
        CRT_AWAIT(self->r = crt_notified(cx, &self->ring->at[self->at]));
        self->ring->passes++;
        crt_notify_one(&self->ring->at[(self->at + 1) % 4]);
    }
    CRT_END;
}
static void *stop_thread(void *arg)
{
    ring *r = arg;
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_EQ(crt_notified_blocking(&r->at[3]), 0);
        r->passes++;
        crt_notify_one(&r->at[0]);
    }
    return NULL;
}
static void a_token_goes_round_two_runtimes_and_a_thread(void)
{
    crt_runtime *a, *b;
    crt_handle *ha, *hb;
    crt_join_handle *join[3];
    ring r = {0};
    pthread_t t;
    CHECK_EQ(crt_runtime_new(&(crt_config){.worker_threads = 2}, &a), 0);
    CHECK_EQ(crt_runtime_new(&(crt_config){.worker_threads = 1}, &b), 0);
    ha = crt_runtime_handle(a);
    hb = crt_runtime_handle(b);
    CHECK_EQ(pthread_create(&t, NULL, stop_thread, &r), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(crt_handle_spawn_join(i == 1 ? hb : ha, &join[i], stop_run, (&(stop){.ring = &r, .at = i})), 0);
    crt_notify_one(&r.at[0]);
    pthread_join(t, NULL);
    for (int i = 0; i < 3; i++) CHECK_EQ(crt_join_blocking(&join[i], NULL), 0);
    CHECK_EQ(r.passes, 4 * ROUNDS);
    CHECK(r.at[0].q.extra & CRT__NOTIFY_PERMIT);   // where the thread left it
    crt_handle_drop(&ha);
    crt_handle_drop(&hb);
    crt_runtime_drop(&a);
    crt_runtime_drop(&b);
}
BODY(blocking_inside_a_task_is_refused)
{
    (void)cx;
    crt_notify n = {0};
    CHECK_EQ(crt_notified_blocking(&n), CRT_ENESTED);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST_ON_EACH(a_stored_permit_serves_one);
    TEST_ON_EACH(permits_do_not_add_up);
    TEST_ON_EACH(one_that_waits);
    TEST_ON_EACH(one_wakes_the_oldest);
    TEST_ON_EACH(one_who_has_left_gets_nothing);
    TEST_ON_EACH(dropped_after_the_grant_passes_on);
    TEST_ON_EACH(one_after_all_is_stored);
    TEST_ON_EACH(a_round_leaves_the_permit);
    TEST_ON_EACH(snapshots);
    TEST_ON_EACH(a_wait_moves_to_another_slot);
    TEST_ON_EACH(notifying_from_a_cleanup);
    TEST_ON_EACH(budget);
    TEST_ON_EACH(waiting_costs_no_budget);
    TEST_ON_EACH(blocking_inside_a_task_is_refused);
    TEST(a_token_goes_round_two_runtimes_and_a_thread);
    return test_end();
}
