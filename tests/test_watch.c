// watch: what Tokio's own tests of it check, and what is crt's own.
//
// Held against tokio/tests/sync_watch.rs (Tokio's name -> test here; "channels:" is in
// test_channels.c, "budget:" in test_channel_cancel.c):
//   single_rx_recv, rx_observes_final_value, borrow_and_update -> one_receiver_step_by_step,
//                                              channels: watch_tells_of_changes_not_of_values
//   rx_version_underflow, rx_mark_changed, rx_mark_unchanged -> marks_change_what_counts_as_seen
//   multi_rx                                -> receivers_see_for_themselves
//   poll_close                              -> the_sender_hears_of_the_last_receiver
//   reopened_after_subscribe                -> the_sender_hears_of_the_last_receiver,
//                                              channels: watch_without_receivers
//   send_modify_panic                       -> no meaning: a callback in C does not unwind
//   multiple_sender, receiver_is_notified_when_last_sender_is_dropped -> several_senders
//   receiver_changed_is_cooperative(_ok), receiver_wait_for_is_cooperative(_ok), sender_closed_is_cooperative
//                                           -> budget: a_hot_channel_lets_its_neighbour_run
//   changed_succeeds_on_closed_channel_with_unseen_value, changed_errors_on_closed_channel_with_seen_value,
//   wait_for_errors_on_closed_channel_true_predicate -> a_closed_watch_still_tells_what_is_new
//   has_changed_errors_on_closed_channel_with_{unseen,seen}_value -> a_closed_watch_still_tells_what_is_new
//                                              (a bool here; crt_watch_rx_is_closed is the other question)
// tokio/src/sync/tests/loom_watch.rs:
//   smoke, multiple_sender_drop_concurrently -> model_broadcast.c, several_senders
//   wait_for_test, wait_for_returns_correct_value -> wait_for_gives_the_value_it_has_judged
#include "channels.h"

static crt_watch_tx *make(int first, crt_watch_rx **rx)
{
    crt_watch_tx *tx;
    CHECK_EQ(crt_watch_new(sizeof(int), &first, &tx, rx), 0);
    return tx;
}
static int say(crt_watch_tx *tx, int v) { return crt_watch_send(tx, &v); }
static int look(crt_watch_rx *rx)
{
    int v = -1;
    crt_watch_get(rx, &v);
    return v;
}
static int look_update(crt_watch_rx *rx)
{
    int v = -1;
    crt_watch_get_update(rx, &v);
    return v;
}

BODY(one_receiver_step_by_step)
{
    POLLS;
    crt_watch_rx *rx;
    crt_watch_tx *tx = make(1, &rx);
    crt_slot s = {0};
    int v = 0;
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), PENDING);
    CHECK_EQ(look(rx), 1);
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), PENDING);   // polled for nothing
    CHECK(!WOKEN(s));
    CHECK_EQ(say(tx, 2), 0);
    CHECK(WOKEN(s));
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), 0);
    CHECK_EQ(look(rx), 2);
    CHECK_EQ(say(tx, 3), 0);
    CHECK(crt_watch_has_changed(rx));
    CHECK_EQ(look(rx), 3);
    CHECK(crt_watch_has_changed(rx));
    CHECK_EQ(look_update(rx), 3);
    CHECK(!crt_watch_has_changed(rx));
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), PENDING);
    CHECK_EQ(say(tx, 4), 0);
    CHECK_EQ(look_update(rx), 4);   // seen by another hand between the wake and the poll
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), PENDING);
    crt_watch_tx_get(tx, &v);
    CHECK_EQ(v, 4);
    CHECK_EQ(say(tx, 5), 0);
    crt_watch_tx_drop(&tx);
    CHECK(WOKEN(s));
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), 0);   // the last value first
    CHECK_EQ(look(rx), 5);
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), CRT_ECLOSED);
    CHECK_EQ(look(rx), 5);
    crt_watch_rx_drop(&rx);
    CHECK_EQ(AT(s, crt_watch_changed(cx, NULL)), CRT_EINVAL);
    tx = make(1, &rx);
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), PENDING);
    crt_watch_tx_drop(&tx);
    CHECK(WOKEN(s));
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), CRT_ECLOSED);
    CHECK_EQ(look(rx), 1);
    crt_watch_rx_drop(&rx);
}
BODY(marks_change_what_counts_as_seen)
{
    POLLS;
    crt_watch_rx *rx, *twin;
    crt_watch_tx *tx = make(1, &rx);
    crt_slot s = {0};
    crt_watch_mark_changed(rx);
    crt_watch_mark_changed(rx);   // at the very first version, and twice
    CHECK(crt_watch_has_changed(rx));
    CHECK_EQ(crt_watch_rx_clone(rx, &twin), 0);
    CHECK(crt_watch_has_changed(twin));   // a clone has seen what its original has
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), 0);
    CHECK_EQ(look(rx), 1);
    CHECK(!crt_watch_has_changed(rx) && crt_watch_has_changed(twin));
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), PENDING);
    CHECK_EQ(CANCEL(s, crt_watch_changed(cx, rx)), UNWIND);
    CHECK_EQ(say(tx, 2), 0);
    crt_watch_mark_unchanged(rx);
    CHECK(!crt_watch_has_changed(rx));
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), PENDING);
    CHECK_EQ(say(tx, 3), 0);
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), 0);
    crt_watch_mark_changed(rx);
    crt_watch_tx_drop(&tx);
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), 0);
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), CRT_ECLOSED);
    crt_watch_mark_changed(rx);
    crt_watch_mark_unchanged(rx);
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), CRT_ECLOSED);
    CHECK_EQ(look(twin), 3);
    crt_watch_rx_drop(&rx);
    crt_watch_rx_drop(&twin);
}
BODY(receivers_see_for_themselves)
{
    POLLS;
    crt_watch_rx *rx[4];
    crt_watch_tx *tx = make(0, &rx[0]);
    crt_slot s[4] = {{0}};
    for (int i = 1; i < 3; i++) CHECK_EQ(crt_watch_rx_clone(rx[0], &rx[i]), 0);
    CHECK_EQ(crt_watch_receiver_count(tx), 3);
    for (int i = 0; i < 3; i++) CHECK_EQ(AT(s[i], crt_watch_changed(cx, rx[i])), PENDING);
    CHECK_EQ(say(tx, 1), 0);
    for (int i = 0; i < 3; i++) CHECK(WOKEN(s[i]));
    CHECK_EQ(AT(s[0], crt_watch_changed(cx, rx[0])), 0);
    CHECK_EQ(say(tx, 2), 0);
    CHECK_EQ(AT(s[1], crt_watch_changed(cx, rx[1])), 0);   // two sends, one change
    CHECK_EQ(look(rx[1]), 2);
    CHECK_EQ(AT(s[1], crt_watch_changed(cx, rx[1])), PENDING);
    CHECK_EQ(crt_watch_subscribe(tx, &rx[3]), 0);
    CHECK_EQ(AT(s[3], crt_watch_changed(cx, rx[3])), PENDING);   // has seen the present value
    CHECK_EQ(CANCEL(s[2], crt_watch_changed(cx, rx[2])), UNWIND);
    crt_watch_rx_drop(&rx[2]);   // goes while others wait
    CHECK(!WOKEN(s[1]) && !WOKEN(s[3]));
    CHECK_EQ(AT(s[0], crt_watch_changed(cx, rx[0])), 0);
    CHECK(crt_watch_same_channel(rx[0], rx[3]));
    CHECK_EQ(crt_watch_receiver_count(tx), 3);
    crt_watch_tx_drop(&tx);
    CHECK_EQ(AT(s[1], crt_watch_changed(cx, rx[1])), CRT_ECLOSED);
    CHECK_EQ(AT(s[3], crt_watch_changed(cx, rx[3])), CRT_ECLOSED);
    CHECK_EQ(crt_watch_rx_clone(rx[0], &rx[2]), 0);   // also of a closed one
    CHECK(crt_watch_rx_is_closed(rx[2]));
    CHECK_EQ(look(rx[2]), 2);
    for (int i = 0; i < 4; i++) crt_watch_rx_drop(&rx[i]);
}
BODY(the_sender_hears_of_the_last_receiver)
{
    POLLS;
    crt_watch_rx *rx, *twin;
    crt_watch_tx *tx = make(1, &rx);
    crt_slot c = {0}, d = {0};
    CHECK_EQ(crt_watch_receiver_count(tx), 1);
    CHECK_EQ(crt_watch_subscribe(tx, &twin), 0);
    CHECK_EQ(AT(c, crt_watch_closed(cx, tx)), PENDING);
    CHECK_EQ(AT(d, crt_watch_closed(cx, tx)), PENDING);
    crt_watch_rx_drop(&rx);
    CHECK(!WOKEN(c) && !WOKEN(d));
    crt_watch_rx_drop(&twin);
    CHECK(WOKEN(c) && WOKEN(d));
    CHECK_EQ(AT(c, crt_watch_closed(cx, tx)), 0);
    CHECK_EQ(say(tx, 2), CRT_ECLOSED);
    CHECK_EQ(crt_watch_subscribe(tx, &rx), 0);   // it opens again
    CHECK_EQ(AT(d, crt_watch_closed(cx, tx)), PENDING);
    CHECK_EQ(look(rx), 1);   // what was refused was not stored
    CHECK_EQ(say(tx, 3), 0);
    crt_watch_rx_drop(&rx);
    CHECK_EQ(crt_watch_receiver_count(tx), 0);
    CHECK_EQ(AT(d, crt_watch_closed(cx, tx)), 0);
    CHECK_EQ(AT(d, crt_watch_closed(cx, tx)), 0);
    CHECK_EQ(AT(d, crt_watch_closed(cx, NULL)), CRT_EINVAL);
    crt_watch_tx_drop(&tx);
}
static bool is_three(const void *elem, void *user)
{
    int v;
    memcpy(&v, elem, sizeof v);
    ++*(int *)user;
    return v == 3;
}
static bool always(const void *elem, void *user)
{
    (void)user;
    (void)elem;
    return true;
}
BODY(a_closed_watch_still_tells_what_is_new)
{
    POLLS;
    crt_watch_rx *rx;
    crt_slot s = {0};
    int v = -1, asked = 0;
    crt_watch_tx *tx = make(1, &rx);
    CHECK(!crt_watch_rx_is_closed(rx));
    crt_watch_tx_drop(&tx);
    CHECK(crt_watch_rx_is_closed(rx));
    CHECK(!crt_watch_has_changed(rx));
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), CRT_ECLOSED);
    CHECK_EQ(AT(s, crt_watch_wait_for(cx, rx, is_three, &asked, &v)), CRT_ECLOSED);
    CHECK_EQ(v, -1);
    CHECK_EQ(asked, 1);
    CHECK_EQ(AT(s, crt_watch_wait_for(cx, rx, always, NULL, &v)), 0);   // the present value will do
    CHECK_EQ(v, 1);
    crt_watch_rx_drop(&rx);
    tx = make(1, &rx);
    CHECK_EQ(say(tx, 2), 0);
    crt_watch_tx_drop(&tx);
    CHECK(crt_watch_has_changed(rx));
    CHECK_EQ(AT(s, crt_watch_wait_for(cx, rx, is_three, &asked, &v)), CRT_ECLOSED);
    CHECK(crt_watch_has_changed(rx));   // a condition that failed marks nothing
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), 0);
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), CRT_ECLOSED);
    crt_watch_rx_drop(&rx);
}
BODY(wait_for_ends_with_the_condition)
{
    POLLS;
    crt_watch_rx *rx;
    crt_watch_tx *tx = make(3, &rx);
    crt_slot s = {0};
    int v = -1, asked = 0;
    CHECK_EQ(AT(s, crt_watch_wait_for(cx, rx, is_three, &asked, &v)), 0);   // seen already, but it fulfils
    CHECK_EQ(v, 3);
    CHECK_EQ(say(tx, 1), 0);
    v = -1;
    CHECK_EQ(AT(s, crt_watch_wait_for(cx, rx, is_three, &asked, &v)), PENDING);
    CHECK_EQ(say(tx, 2), 0);
    CHECK_EQ(AT(s, crt_watch_wait_for(cx, rx, is_three, &asked, &v)), PENDING);
    CHECK_EQ(asked, 3);
    CHECK_EQ(AT(s, crt_watch_wait_for(cx, rx, is_three, &asked, &v)), PENDING);   // no news: not asked again
    CHECK_EQ(asked, 3);
    CHECK(crt_watch_has_changed(rx));
    CHECK_EQ(say(tx, 3), 0);
    CHECK_EQ(v, -1);
    CHECK_EQ(AT(s, crt_watch_wait_for(cx, rx, is_three, &asked, &v)), 0);
    CHECK_EQ(v, 3);
    CHECK(!crt_watch_has_changed(rx));   // marked as seen
    CHECK_EQ(AT(s, crt_watch_wait_for(cx, rx, is_three, &asked, NULL)), 0);   // without a copy
    // Fulfilled and gone again before the poll: it goes on waiting.
    CHECK_EQ(say(tx, 1), 0);
    CHECK_EQ(AT(s, crt_watch_wait_for(cx, rx, is_three, &asked, &v)), PENDING);
    CHECK_EQ(say(tx, 3), 0);
    CHECK_EQ(say(tx, 4), 0);
    CHECK_EQ(AT(s, crt_watch_wait_for(cx, rx, is_three, &asked, &v)), PENDING);
    crt_watch_tx_drop(&tx);
    CHECK_EQ(AT(s, crt_watch_wait_for(cx, rx, is_three, &asked, &v)), CRT_ECLOSED);
    CHECK_EQ(AT(s, crt_watch_wait_for(cx, rx, NULL, NULL, &v)), CRT_EINVAL);
    CHECK_EQ(AT(s, crt_watch_wait_for(cx, NULL, is_three, &asked, &v)), CRT_EINVAL);
    crt_watch_rx_drop(&rx);
}

// --- changing the value

static void add(void *elem, void *user)
{
    int v;
    memcpy(&v, elem, sizeof v);
    v += *(int *)user;
    memcpy(elem, &v, sizeof v);
}
static bool add_if_small(void *elem, void *user)
{
    int v;
    memcpy(&v, elem, sizeof v);
    if (v >= 10) return false;
    add(elem, user);
    return true;
}
BODY(modify_and_replace)
{
    POLLS;
    crt_watch_rx *rx;
    crt_watch_tx *tx = make(1, &rx);
    crt_slot s = {0};
    int v = -1, by = 5;
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), PENDING);
    CHECK_EQ(crt_watch_send_modify(tx, add, &by), 0);
    CHECK(WOKEN(s));
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), 0);
    CHECK_EQ(look(rx), 6);
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), PENDING);
    CHECK(crt_watch_send_if_modified(tx, add_if_small, &by));
    CHECK(WOKEN(s));
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), 0);
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), PENDING);
    CHECK(!crt_watch_send_if_modified(tx, add_if_small, &by));
    CHECK(!WOKEN(s) && !crt_watch_has_changed(rx));
    CHECK_EQ(look(rx), 11);
    // without a sender, a value or a callback nothing is done
    CHECK_EQ(crt_watch_send_modify(NULL, add, &by), CRT_EINVAL);
    CHECK_EQ(crt_watch_send_modify(tx, NULL, &by), CRT_EINVAL);
    CHECK(!crt_watch_send_if_modified(NULL, add_if_small, &by));
    CHECK(!crt_watch_send_if_modified(tx, NULL, &by));
    CHECK_EQ(crt_watch_send_replace(NULL, &(int){20}, &v), CRT_EINVAL);
    CHECK_EQ(crt_watch_send_replace(tx, NULL, &v), CRT_EINVAL);
    CHECK_EQ(v, -1);
    CHECK(!WOKEN(s) && !crt_watch_has_changed(rx));
    CHECK_EQ(crt_watch_send_replace(tx, &(int){20}, &v), 0);
    CHECK_EQ(v, 11);
    CHECK(WOKEN(s));
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), 0);
    crt_watch_rx_drop(&rx);
    CHECK_EQ(say(tx, 30), CRT_ECLOSED);
    crt_watch_send_replace(tx, &(int){40}, &v);   // stores without receivers
    CHECK_EQ(v, 20);
    crt_watch_send_modify(tx, add, &by);
    CHECK_EQ(crt_watch_subscribe(tx, &rx), 0);
    CHECK_EQ(look(rx), 45);
    CHECK(!crt_watch_has_changed(rx));
    crt_watch_tx_drop(&tx);
    crt_watch_rx_drop(&rx);
}
BODY(every_value_is_released_once)
{
    POLLS;
    for (int how = 0; how < 4; how++) {
        crt_watch_tx *tx;
        crt_watch_rx *rx, *twin;
        crt_slot s = {0};
        things_forget();
        thing t = thing_make(0), out;
        CHECK_EQ(crt_watch_new(sizeof t, &t, &tx, &rx), 0);
        crt_watch_set_ops(tx, &thing_ops);
        CHECK_EQ(crt_watch_subscribe(tx, &twin), 0);
        crt_watch_get(rx, &out);
        CHECK_EQ(thing_release(out), 0);
        t = thing_make(1);
        CHECK_EQ(crt_watch_send(tx, &t), 0);   // drops 0
        CHECK_EQ(things_dropped[0], 1);
        crt_watch_get_update(twin, &out);
        CHECK_EQ(thing_release(out), 1);
        t = thing_make(2);
        crt_watch_send_replace(tx, &t, &out);   // hands 1 back
        CHECK_EQ(thing_release(out), 1);
        CHECK_EQ(things_dropped[1], 0);
        t = thing_make(3);
        crt_watch_send_replace(tx, &t, NULL);   // drops 2
        CHECK_EQ(things_dropped[2], 1);
        CHECK_EQ(AT(s, crt_watch_wait_for(cx, rx, always, NULL, &out)), 0);
        CHECK_EQ(thing_release(out), 3);
        CHECK_EQ(AT(s, crt_watch_wait_for(cx, rx, always, NULL, NULL)), 0);   // no copy, no clone
        crt_watch_tx_get(tx, &out);
        CHECK_EQ(thing_release(out), 3);
        CHECK_EQ(things_cloned, 4);
        CHECK_EQ(things_alive, 1);
        if (how & 1) crt_watch_tx_drop(&tx);
        crt_watch_rx_drop(&rx);
        crt_watch_rx_drop(&twin);
        if (!(how & 1)) {
            t = thing_make(4);
            CHECK_EQ(crt_watch_send(tx, &t), CRT_ECLOSED);   // it stays with the caller
            thing_release(t);
            CHECK_EQ(things_alive, 1);
            crt_watch_tx_drop(&tx);
        }
        CHECK_EQ(things_dropped[3], 1);
        CHECK_EQ(things_alive, 0);
    }
}
BODY(sizes_and_memory)
{
    POLLS;
    static const size_t sizes[] = {0, 1, 7, 4096, 1 << 20};
    unsigned char *in = malloc(1 << 20), *out = malloc(1 << 20);
    crt_watch_tx *tx;
    crt_watch_rx *rx, *other;
    crt_slot s = {0};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        memset(in, 1, 1 << 20);
        CHECK_EQ(crt_watch_new(sizes[k], in, &tx, &rx), 0);
        for (int i = 0; i < 4; i++) {
            memset(in, i + 2, 1 << 20);
            memset(out, 0xEE, 1 << 20);
            CHECK_EQ(crt_watch_send(tx, in), 0);
            CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), 0);
            crt_watch_get(rx, out);
            CHECK(!memcmp(in, out, sizes[k]));
            if (sizes[k] < 1 << 20) CHECK_EQ(out[sizes[k]], 0xEE);
        }
        memory_fails_at = 0;
        CHECK_EQ(crt_watch_subscribe(tx, &other), CRT_ENOMEM);
        memory_fails_at = 0;
        CHECK_EQ(crt_watch_rx_clone(rx, &other), CRT_ENOMEM);
        memory_fails_at = -1;
        CHECK(!other);
        CHECK_EQ(crt_watch_receiver_count(tx), 1);
        crt_watch_tx_drop(&tx);
        crt_watch_rx_drop(&rx);
    }
    for (int k = 0; k < 2; k++) {   // either of its two allocations
        memory_fails_at = k;
        CHECK_EQ(crt_watch_new(8, in, &tx, &rx), CRT_ENOMEM);
        memory_fails_at = -1;
        CHECK(!tx && !rx);
    }
    CHECK_EQ(crt_watch_new((1 << 20) + 1, in, &tx, &rx), CRT_EINVAL);
    CHECK(!tx && !rx);
    free(in);
    free(out);
    crt_watch_tx_drop(&tx);
    crt_watch_rx_drop(&rx);
    crt_watch_tx_drop(NULL);
    crt_watch_rx_drop(NULL);
    CHECK(!crt_watch_tx_clone(NULL));
}
BODY(versions_near_the_end_of_their_range)
{
    POLLS;
    crt_watch_rx *rx;
    crt_watch_tx *tx = make(1, &rx);
    crt_slot s = {0};
    crt__watch *c = (crt__watch *)tx;
    c->version = rx->seen = UINT64_MAX - 3;   // five hundred years of sends
    for (int i = 0; i < 6; i++) {
        CHECK(!crt_watch_has_changed(rx));
        CHECK_EQ(say(tx, i), 0);
        CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), 0);
    }
    crt_watch_tx_drop(&tx);
    crt_watch_rx_drop(&rx);
}

// --- with tasks and threads

typedef struct teller {
    crt_watch_tx *tx;
    int what;
} teller;
static void *teller_run(void *arg)
{
    teller *t = arg;
    int one = 1;
    if (t->what == 0)
        for (int i = 0; i < 200; i++) crt_watch_send_modify(t->tx, add, &one);
    crt_watch_tx_drop(&t->tx);
    return NULL;
}
typedef struct follower {
    crt_frame co;
    crt_watch_rx *rx;
    int changes, v, last;
    crt_poll r;
} follower;
static crt_poll follower_run(void *frame, crt_cx *cx)
{
    follower *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = crt_watch_changed(cx, self->rx));
        if (self->r) break;
        self->changes++;
        crt_watch_get_update(self->rx, &self->v);
        CHECK(self->v > self->last);
        self->last = self->v;
    }
    CHECK_EQ(self->r, CRT_ECLOSED);
    CRT_END;
}
// Three senders add at once and go; the follower sees it grow to the sum, and then the end.
static void several_senders(crt_runtime *rt)
{
    for (int round = 0; round < 10; round++) {
        follower f = {0};
        teller t[3];
        pthread_t id[3];
        t[0] = (teller){make(0, &f.rx), 0};
        for (int i = 1; i < 3; i++) t[i] = (teller){crt_watch_tx_clone(t[0].tx), i == 2};
        for (int i = 0; i < 3; i++) CHECK_EQ(pthread_create(&id[i], NULL, teller_run, &t[i]), 0);
        CHECK_EQ(crt_block_on(rt, follower_run, &f), 0);
        for (int i = 0; i < 3; i++) pthread_join(id[i], NULL);
        CHECK_EQ(f.last, 400);
        CHECK(f.changes <= 400);
        crt_watch_rx_drop(&f.rx);
    }
}
static bool remember(const void *elem, void *user)
{
    int v;
    memcpy(&v, elem, sizeof v);
    *(int *)user = v;
    return v >= 50;
}
typedef struct judge {
    crt_frame co;
    crt_watch_rx *rx;
    int judged, v;
    crt_poll r;
} judge;
static crt_poll judge_run(void *frame, crt_cx *cx)
{
    judge *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_watch_wait_for(cx, self->rx, remember, &self->judged, &self->v));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->v, self->judged);   // not one that came after
    CRT_END;
}
static void wait_for_gives_the_value_it_has_judged(crt_runtime *rt)
{
    for (int round = 0; round < 20; round++) {
        judge j = {0};
        teller t = {make(0, &j.rx), 0};
        pthread_t id;
        CHECK_EQ(pthread_create(&id, NULL, teller_run, &t), 0);
        CHECK_EQ(crt_block_on(rt, judge_run, &j), 0);
        pthread_join(id, NULL);
        CHECK(j.v >= 50);
        crt_watch_rx_drop(&j.rx);
    }
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST_ON_EACH(one_receiver_step_by_step);
    TEST_ON_EACH(marks_change_what_counts_as_seen);
    TEST_ON_EACH(receivers_see_for_themselves);
    TEST_ON_EACH(the_sender_hears_of_the_last_receiver);
    TEST_ON_EACH(a_closed_watch_still_tells_what_is_new);
    TEST_ON_EACH(wait_for_ends_with_the_condition);
    TEST_ON_EACH(modify_and_replace);
    TEST_ON_EACH(every_value_is_released_once);
    TEST_ON_EACH(sizes_and_memory);
    TEST_ON_EACH(versions_near_the_end_of_their_range);
    TEST_ON_EACH(several_senders);
    TEST_ON_EACH(wait_for_gives_the_value_it_has_judged);
    return test_end();
}
