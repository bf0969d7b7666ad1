// The delay queue, on the virtual clock.
//
// Held against tokio-util's time_delay_queue.rs (theirs -> ours):
//   single_immediate_delay, multi_immediate_delays, insert_in_past_fires_immediately -> what_is_due_comes_at_once
//   single_short_delay, multi_delay_at_start -> in_the_order_of_their_deadlines
//   remove_entry, delay_queue_poll_expired_when_empty -> removed_before_it_is_due
//   reset_entry, reset_much_later, reset_twice, multi_reset -> resets
//   reset_to_past_wakes_pending_queue -> a_reset_to_the_past_wakes
//   repeatedly_reset_entry_inserted_as_expired, reset_inserted_expired -> reset_while_it_is_due
//   remove_expired_item, remove_at_timer_wheel_threshold -> removed_while_it_is_due
//   expires_before_last_insert, insert_before_first_after_poll -> an_earlier_one_wakes
//   expire_first_key_when_reset_to_expire_earlier, expire_second_..., reset_first_expiring_item_to_expire_later -> resets
//   insert_after_ready_poll -> inserting_while_others_are_due
//   reset_later_after_slot_starts, reset_earlier_after_slot_starts -> resets_inside_a_slot
//   insert_in_past_after_poll_fires_immediately -> an_earlier_one_wakes
//   compact_*, remove_after_compact, remove_after_compact_poll -> no meaning: entries are the caller's, there is no slab
//   item_expiry_greater_than_wheel -> very_long_delays
//   peek -> peeking
//   wake_after_remove_last, wake_after_clear -> an_emptied_queue_tells
// Cancelled before, during, after it is due: test_cancel.c.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#include "by_hand.h"

typedef struct queue {
    crt_frame co;
    crt_delay_queue q;
    crt_delay d[8], *due;
    crt_slot s;
    crt_instant t0;
    int i;
    crt_poll r;
} queue;
// One look, without waiting: the index of what is due, or a result below 0.
static crt_poll look(queue *self, crt_cx *cx)
{
    crt_slot *held;
    crt_poll got, r = AT(self->s, crt_delay_next(cx, &self->q, &self->due));
    return r == 0 ? self->due - self->d : r;
}
#undef IN   // of Windows
#define IN(i, ms) CHECK_EQ(crt_delay_insert_at(cx, &self->q, &self->d[i], self->t0 + CRT_MS(ms)), 0)
#define RESET(i, ms) CHECK_EQ(crt_delay_reset_at(cx, &self->q, &self->d[i], self->t0 + CRT_MS(ms)), 0)
#define UNTIL(ms) CRT_AWAIT(crt_sleep_until(cx, self->t0 + CRT_MS(ms)))
#define LOOK(want) CHECK_EQ(look(self, cx), want)
// Would a task that waits be woken now?
#define WOKEN(yes) CHECK_EQ((self->q.crt__waiter->task->state & CRT__NOTIFIED) != 0, yes)
#define QUEUE(name)                                                                        \
    static crt_poll name##_run(void *frame, crt_cx *cx);                                   \
    static void name(void)                                                                 \
    {                                                                                      \
        crt_runtime *rt;                                                                   \
        queue q = {0};                                                                     \
        CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .start_paused = true}, &rt), 0); \
        CHECK_EQ(crt_block_on(rt, name##_run, &q), 0);                                     \
        CHECK_EQ(crt_delay_len(&q.q), 0);                                                  \
        crt_delay_queue_drop(&q.q);                                                        \
        crt_runtime_drop(&rt);                                                             \
    }                                                                                      \
    static crt_poll name##_run(void *frame, crt_cx *cx)
#define BEGIN                                                                              \
    queue *self = frame;                                                                   \
    CRT_BEGIN(self, cx);                                                                   \
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(1))); /* so that there is a past */                    \
    self->t0 = crt_now(cx)

QUEUE(what_is_due_comes_at_once)
{
    BEGIN;
    IN(0, 0);
    IN(1, -500);
    IN(2, 0);
    CHECK_EQ(crt_delay_insert(cx, &self->q, &self->d[3], -CRT_SEC(7)), 0);
    for (self->i = 0; self->i < 4; self->i++) LOOK(self->i);
    LOOK(CRT_EEMPTY);
    CRT_END;
}
QUEUE(in_the_order_of_their_deadlines)
{
    BEGIN;
    IN(0, 30);
    IN(1, 5);
    IN(2, 20);
    IN(3, 5);
    LOOK(PENDING);
    UNTIL(4);
    WOKEN(false);
    LOOK(PENDING);
    UNTIL(5);
    LOOK(1);
    LOOK(3);
    LOOK(PENDING);
    UNTIL(40);
    LOOK(2);
    LOOK(0);
    LOOK(CRT_EEMPTY);
    CRT_END;
}
QUEUE(removed_before_it_is_due)
{
    BEGIN;
    IN(0, 5);
    LOOK(PENDING);
    CHECK(crt_delay_remove(&self->q, &self->d[0]));
    CHECK(!crt_delay_remove(&self->q, &self->d[0]));
    LOOK(CRT_EEMPTY);
    UNTIL(10);
    LOOK(CRT_EEMPTY);
    IN(0, 15);   // and in again
    LOOK(PENDING);
    UNTIL(15);
    LOOK(0);
    CRT_END;
}
QUEUE(resets)
{
    BEGIN;
    IN(0, 5);
    LOOK(PENDING);
    UNTIL(1);
    RESET(0, 10);   // later
    UNTIL(8);
    LOOK(PENDING);
    UNTIL(10);
    LOOK(0);
    IN(0, 200);
    IN(1, 250);
    LOOK(PENDING);
    RESET(0, 300);
    RESET(1, 350);
    RESET(0, 400);
    UNTIL(310);
    LOOK(PENDING);
    UNTIL(360);
    LOOK(1);
    LOOK(PENDING);
    RESET(0, 370);   // earlier
    UNTIL(370);
    LOOK(0);
    IN(0, 600);
    IN(1, 650);
    LOOK(PENDING);
    RESET(1, 500);   // the second overtakes the first
    WOKEN(true);
    LOOK(PENDING);
    UNTIL(500);
    LOOK(1);
    IN(1, 650);
    RESET(0, 700);   // and again, by the first going back
    LOOK(PENDING);
    UNTIL(650);
    LOOK(1);
    RESET(0, 690);
    RESET(0, 680);
    UNTIL(680);
    LOOK(0);
    LOOK(CRT_EEMPTY);
    CHECK_EQ(crt_delay_reset(cx, &self->q, &self->d[0], 0), CRT_EINVAL);
    CRT_END;
}
QUEUE(a_reset_to_the_past_wakes)
{
    BEGIN;
    IN(0, 10000);
    LOOK(PENDING);
    WOKEN(false);
    RESET(0, -100);
    WOKEN(true);
    LOOK(0);
    LOOK(CRT_EEMPTY);
    CRT_END;
}
QUEUE(reset_while_it_is_due)
{
    BEGIN;
    IN(0, -100);
    RESET(0, 100);
    RESET(0, 50);
    LOOK(PENDING);
    UNTIL(60);
    LOOK(0);
    LOOK(CRT_EEMPTY);
    IN(0, -100);
    RESET(0, 260);
    CHECK_EQ(crt_delay_len(&self->q), 1);
    UNTIL(300);
    LOOK(0);
    CRT_END;
}
QUEUE(removed_while_it_is_due)
{
    BEGIN;
    IN(0, 0);
    CHECK(crt_delay_remove(&self->q, &self->d[0]));
    // At the border between two levels of the wheel.
    for (self->i = 0; self->i < 3; self->i++) IN(self->i, 64);
    UNTIL(80);
    LOOK(0);
    CHECK(crt_delay_remove(&self->q, &self->d[1]));
    LOOK(2);
    LOOK(CRT_EEMPTY);
    CRT_END;
}
QUEUE(an_earlier_one_wakes)
{
    BEGIN;
    IN(0, 10000);
    LOOK(PENDING);
    IN(1, 600);
    WOKEN(true);
    LOOK(PENDING);
    UNTIL(599);
    LOOK(PENDING);
    UNTIL(600);
    LOOK(1);
    LOOK(PENDING);
    IN(2, 20000);   // a later one does not
    WOKEN(false);
    IN(1, 40);      // long past
    WOKEN(true);
    LOOK(1);
    crt_delay_queue_clear(&self->q);
    FORGET(self->s);
    CRT_END;
}
QUEUE(inserting_while_others_are_due)
{
    BEGIN;
    for (self->i = 0; self->i < 3; self->i++) IN(self->i, 100);
    LOOK(PENDING);
    UNTIL(100);
    for (self->i = 0; self->i < 3; self->i++) {
        LOOK(self->i);
        IN(3 + self->i, 500);
    }
    LOOK(PENDING);
    UNTIL(500);
    for (self->i = 3; self->i < 6; self->i++) LOOK(self->i);
    CRT_END;
}
QUEUE(resets_inside_a_slot)
{
    BEGIN;
    IN(0, 100);
    LOOK(PENDING);
    UNTIL(80);
    RESET(0, 120);
    LOOK(PENDING);
    UNTIL(119);
    LOOK(PENDING);
    UNTIL(120);
    LOOK(0);
    IN(0, 320);
    LOOK(PENDING);
    UNTIL(200);
    RESET(0, 240);
    LOOK(PENDING);
    UNTIL(239);
    LOOK(PENDING);
    UNTIL(240);
    LOOK(0);
    CRT_END;
}
QUEUE(very_long_delays)
{
    BEGIN;
    IN(0, 1ll << 36);           // two years and more
    IN(1, (1ll << 36) + 1);
    CHECK_EQ(crt_delay_insert(cx, &self->q, &self->d[2], CRT_FOREVER - 1), 0);
    CHECK_EQ(crt_delay_insert(cx, &self->q, &self->d[3], CRT_FOREVER), 0);
    UNTIL((1ll << 36) - 1);
    LOOK(PENDING);
    UNTIL(1ll << 36);
    LOOK(0);
    LOOK(PENDING);
    UNTIL((1ll << 36) + 1);
    LOOK(1);
    CHECK_EQ(crt_delay_insert(cx, &self->q, &self->d[0], CRT_MS(1)), 0);   // a wheel that is old
    LOOK(PENDING);
    UNTIL((1ll << 36) + 2);
    LOOK(0);
    CHECK_EQ(crt_delay_len(&self->q), 2);
    CHECK(crt_delay_remove(&self->q, &self->d[2]));
    LOOK(PENDING);
    RESET(3, 0);   // from never to now
    LOOK(3);
    CRT_END;
}
QUEUE(peeking)
{
    BEGIN;
    CHECK(!crt_delay_peek(&self->q));
    IN(0, 5);
    IN(1, 0);
    IN(2, 10);
    CHECK(crt_delay_peek(&self->q) == &self->d[1]);
    UNTIL(6);
    CHECK(crt_delay_peek(&self->q) == &self->d[1]);
    LOOK(1);
    CHECK(crt_delay_peek(&self->q) == &self->d[0]);
    LOOK(0);
    CHECK(crt_delay_peek(&self->q) == &self->d[2]);
    LOOK(PENDING);
    UNTIL(11);
    CHECK(crt_delay_peek(&self->q) == &self->d[2]);
    LOOK(2);
    CHECK(!crt_delay_peek(&self->q));
    CRT_END;
}
QUEUE(an_emptied_queue_tells)
{
    BEGIN;
    IN(0, 1000);
    IN(1, 2000);
    LOOK(PENDING);
    CHECK(crt_delay_remove(&self->q, &self->d[0]));
    WOKEN(false);
    CHECK(crt_delay_remove(&self->q, &self->d[1]));
    WOKEN(true);
    LOOK(CRT_EEMPTY);
    CRT_AWAIT(crt_yield_now(cx));   // another poll, which has not been woken
    IN(0, 1000);
    CHECK_EQ(crt_delay_insert(cx, &self->q, &self->d[1], CRT_FOREVER), 0);
    LOOK(PENDING);
    WOKEN(false);
    crt_delay_queue_clear(&self->q);
    WOKEN(true);
    LOOK(CRT_EEMPTY);
    CRT_END;
}
QUEUE(misuse_is_told)
{
    BEGIN;
    crt_delay_queue other = {0};
    IN(0, 5);
    CHECK_EQ(crt_delay_insert(cx, &self->q, &self->d[0], 0), CRT_EBUSY);
    CHECK_EQ(crt_delay_insert(cx, &other, &self->d[0], 0), CRT_EBUSY);
    CHECK_EQ(crt_delay_reset(cx, &other, &self->d[0], 0), CRT_EINVAL);
    CHECK(!crt_delay_remove(&other, &self->d[0]));
    CHECK_EQ(crt_delay_len(&self->q), 1);
    crt_delay_queue_drop(&other);
    crt_delay_queue_drop(&self->q);
    LOOK(CRT_EEMPTY);   // ready again
    IN(0, 0);
    LOOK(0);
    CRT_END;
}

// --- against a plain list: random insertions, resets, removals and looks

enum { MANY = 200, OPS = 6000 };
typedef struct fuzz {
    crt_frame co;
    crt_delay_queue q;
    crt_delay d[MANY], *due;
    bool in[MANY];
    crt_slot s;
    uint64_t rng;
    int i, k, n;
} fuzz;
static uint32_t pick(uint64_t *rng, uint32_t below)
{
    *rng = *rng * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*rng >> 33) % below;
}
static void look_at_all(fuzz *self, crt_cx *cx)
{
    crt_slot *held;
    crt_poll got;
    while (AT(self->s, crt_delay_next(cx, &self->q, &self->due)) == 0) {
        int i = (int)(self->due - self->d);
        CHECK(self->in[i] && self->due->deadline <= crt_now(cx));
        self->in[i] = false;
        self->n--;
    }
    CHECK_EQ(got, self->n ? PENDING : CRT_EEMPTY);
    for (int i = 0; i < MANY; i++) CHECK(!self->in[i] || self->d[i].deadline > crt_now(cx));   // none is late
    CHECK_EQ(crt_delay_len(&self->q), self->n);
}
static crt_poll fuzz_run(void *frame, crt_cx *cx)
{
    static const uint32_t spans[] = {1, 10, 64, 65, 1000, 4096, 70000, 5000000};
    fuzz *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < OPS; self->i++) {
        int k = (int)pick(&self->rng, MANY);
        crt_duration after = CRT_MS((int)pick(&self->rng, spans[pick(&self->rng, 8)]));
        uint32_t what = pick(&self->rng, 8);
        if (what == 0) {
            CHECK_EQ(crt_delay_remove(&self->q, &self->d[k]), self->in[k]);
            self->n -= self->in[k];
            self->in[k] = false;
        } else if (self->in[k]) {
            CHECK_EQ(crt_delay_reset(cx, &self->q, &self->d[k], after), 0);
        } else {
            CHECK_EQ(crt_delay_insert(cx, &self->q, &self->d[k], after), 0);
            self->in[k] = true;
            self->n++;
        }
        if (pick(&self->rng, 4) == 0) CRT_AWAIT(crt_sleep(cx, CRT_MS(1 + self->i % 37)));
        if (pick(&self->rng, 3) == 0) look_at_all(self, cx);
        if (self->n && pick(&self->rng, 5) == 0) {
            crt_delay *first = crt_delay_peek(&self->q);
            CHECK(first && self->in[first - self->d]);
        }
    }
    crt_delay_queue_drop(&self->q);
    FORGET(self->s);
    CRT_END;
}
static void as_a_plain_list_would(void)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        crt_runtime *rt;
        fuzz f = {.rng = seed};
        CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .start_paused = true}, &rt), 0);
        CHECK_EQ(crt_block_on(rt, fuzz_run, &f), 0);
        crt_runtime_drop(&rt);
    }
}

// --- many tasks insert on several threads while one waits: each comes out once, none early

enum { INSERTERS = 6, EACH = 60 };
typedef struct entry {
    crt_delay d;
    int times;
} entry;
typedef struct inserter {
    crt_frame co;
    crt_delay_queue *q;
    entry *e;
    int i;
} inserter;
static crt_poll inserter_run(void *frame, crt_cx *cx)
{
    inserter *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < EACH; self->i++) {
        CHECK_EQ(crt_delay_insert(cx, self->q, &self->e[self->i].d, CRT_MS(self->i * 7 % 5)), 0);
        if (self->i % 8 == 0) (void)crt_delay_reset(cx, self->q, &self->e[self->i].d, CRT_MS(3));
        if (self->i % 4 == 0) CRT_YIELD();
    }
    CRT_END;
}
typedef struct collector {
    crt_frame co;
    crt_delay_queue q;
    entry e[INSERTERS][EACH];
    crt_delay *due, hold;
    crt_timer t;
    int i;
    crt_poll r;
} collector;
static crt_poll collector_run(void *frame, crt_cx *cx)
{
    collector *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_delay_insert(cx, &self->q, &self->hold, CRT_FOREVER), 0);   // never empty meanwhile
    for (self->i = 0; self->i < INSERTERS; self->i++)
        CHECK_EQ(crt_spawn(cx, inserter_run, (&(inserter){.q = &self->q, .e = self->e[self->i]})), 0);
    for (self->i = 0; self->i < INSERTERS * EACH;) {
        CRT_AWAIT(self->r = crt_timeout(cx, &self->t, CRT_MS(1), crt_delay_next(cx, &self->q, &self->due)));
        if (self->r == CRT_ETIMEDOUT) continue;
        CHECK_EQ(self->r, 0);
        CHECK(self->due->deadline <= crt_now(cx));
        CHECK_EQ(++((entry *)(void *)self->due)->times, 1);
        self->i++;
    }
    CHECK_EQ(crt_delay_len(&self->q), 1);
    crt_delay_queue_drop(&self->q);
    CRT_END;
}
static void inserted_by_many(crt_runtime *rt)
{
    collector *c = calloc(1, sizeof *c);
    CHECK_EQ(crt_block_on(rt, collector_run, c), 0);
    crt_runtime_shutdown(rt, CRT_FOREVER);
    free(c);
}

// One task gives its wait up by hand and lives on; the next that waits is woken all the same.
static crt_delay_queue handed;
static crt_delay handed_entry;
static crt_notify never_comes;
typedef struct hander {
    crt_frame co;
    crt_delay *due;
    crt_join_handle *other;
    crt_timer timer;
    int polls;
    crt_poll r;
} hander;
static crt_poll looks_once(hander *self, crt_cx *cx)
{
    if (self->polls++) return 5;
    crt_poll r = crt_delay_next(cx, &handed, &self->due);
    if (r == CRT_PENDING) cx->deferred = 1;   // polled again soon
    return r;
}
static crt_poll gives_up_run(void *frame, crt_cx *cx)
{
    hander *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = looks_once(self, cx));
    CRT_AWAIT(crt_notified(cx, &never_comes));
    CRT_END;
}
static crt_poll takes_over_run(void *frame, crt_cx *cx)
{
    hander *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_delay_insert(cx, &handed, &handed_entry, CRT_MS(200)), 0);
    CHECK_EQ(crt_spawn_join(cx, &self->other, gives_up_run, &(hander){0}), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(20)));
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(2), crt_delay_next(cx, &handed, &self->due)));
    CHECK(self->r == 0 && self->due == &handed_entry);
    CHECK(crt_now(cx) < CRT_SEC(1));
    crt_abort(self->other);
    CRT_FINALLY
        crt_detach(&self->other);
        crt_delay_queue_drop(&handed);
    CRT_END;
}
static void a_wait_given_up_by_hand_goes_to_the_next(void)
{
    crt_runtime *rt;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .start_paused = true}, &rt), 0);
    CHECK_EQ(crt_block_on(rt, takes_over_run, &(hander){0}), 0);
    crt_runtime_drop(&rt);
}

// The queue goes while a task waits in it, on another worker: that one is told, and looks at nothing that is freed.
static crt_delay_queue leaving;
static crt_delay leaver;
static int waits_there, no_more;   // atomic
static crt_poll next_told(crt_cx *cx, crt_delay **due)
{
    crt_poll r = crt_delay_next(cx, &leaving, due);
    if (r == CRT_PENDING) __atomic_store_n(&waits_there, 1, __ATOMIC_SEQ_CST);
    return r;
}
static crt_poll waits_run(void *frame, crt_cx *cx)
{
    queue *self = frame;
    CRT_BEGIN(self, cx);
    while (!__atomic_load_n(&no_more, __ATOMIC_SEQ_CST)) {
        CRT_AWAIT(self->r = next_told(cx, &self->due));
        CHECK_EQ(self->r, CRT_EEMPTY);
        CRT_AWAIT(crt_yield_now(cx));
    }
    CRT_END;
}
typedef struct drops {
    crt_frame co;
    crt_join_handle *join;
    int i;
} drops;
static crt_poll drops_run(void *frame, crt_cx *cx)
{
    drops *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_join(cx, &self->join, waits_run, &(queue){.i = 0}), 0);
    for (self->i = 0; self->i < 500; self->i++) {
        __atomic_store_n(&waits_there, 0, __ATOMIC_SEQ_CST);
        crt_delay_insert(cx, &leaving, &leaver, CRT_SEC(100));
        while (!__atomic_load_n(&waits_there, __ATOMIC_SEQ_CST)) CRT_AWAIT(crt_yield_now(cx));
        crt_delay_queue_drop(&leaving);
        for (volatile int spin = 0; spin < 20000; spin++) {}
    }
    __atomic_store_n(&no_more, 1, __ATOMIC_SEQ_CST);
    CRT_AWAIT(crt_join(cx, &self->join, NULL));
    CRT_END;
}
static void a_queue_may_go_while_a_task_waits(void)
{
    crt_runtime *rt;
    crt_config c = {.flavor = CRT_MULTI_THREAD, .worker_threads = 2, .disable_lifo_slot = true};
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    CHECK_EQ(crt_block_on(rt, drops_run, &(drops){.i = 0}), 0);
    crt_runtime_drop(&rt);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST(what_is_due_comes_at_once);
    TEST(in_the_order_of_their_deadlines);
    TEST(removed_before_it_is_due);
    TEST(resets);
    TEST(a_reset_to_the_past_wakes);
    TEST(reset_while_it_is_due);
    TEST(removed_while_it_is_due);
    TEST(an_earlier_one_wakes);
    TEST(inserting_while_others_are_due);
    TEST(resets_inside_a_slot);
    TEST(very_long_delays);
    TEST(peeking);
    TEST(an_emptied_queue_tells);
    TEST(misuse_is_told);
    TEST(as_a_plain_list_would);
    TEST_ON_EACH(inserted_by_many);
    TEST(a_wait_given_up_by_hand_goes_to_the_next);
    TEST(a_queue_may_go_while_a_task_waits);
    return test_end();
}
