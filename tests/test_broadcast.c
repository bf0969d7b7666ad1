// broadcast: what Tokio's own tests of it check, and what is crt's own.
//
// Held against tokio/tests/sync_broadcast.rs (Tokio's name -> test here; "channels:" is in
// test_channels.c, "budget:" in test_channel_cancel.c):
//   send_try_recv_bounded, send_two_recv, send_recv_bounded, send_two_recv_bounded
//                                           -> channels: every_receiver_sees_every_value
//   change_tasks                            -> a_receiver_moves_between_tasks
//   send_slow_rx                            -> a_slow_receiver_is_woken_once
//   drop_rx_while_values_remain, unconsumed_messages_are_dropped -> every_value_is_released_once
//   lagging_rx, lagging_receiver_recovers_after_wrap_{closed_1,closed_2,open}, single_capacity_recvs,
//   single_capacity_recvs_after_drop_{1,2}, dropping_sender_does_not_overwrite,
//   slow_receiver_within_capacity_does_not_lag, capacity_overflow_reports_lagged_then_oldest_retained,
//   lagged_count_matches_number_of_overwritten_messages, lag_uses_power_of_two_buffer_length,
//   async_recv_lagged_then_resumes_from_oldest_retained, single_slot_capacity_lag_semantics
//                                           -> lag_against_a_model, channels: who_lags_is_told_exactly_how_much
//   lag_catch_up_then_lag_again, lag_is_per_receiver, lag_again_before_reading_retained_messages
//                                           -> lag_against_a_model
//   receiver_len_with_lagged, receiver_len_after_lag_error_advances_cursor, sender_len, sender_len_random
//                                           -> lag_against_a_model (lengths after every step)
//   send_no_rx                              -> channels: every_receiver_sees_every_value
//   zero_capacity, capacity_too_big         -> channels: bad_sizes, sizes_and_memory (CRT_EINVAL)
//   panic_in_clone                          -> no meaning: a callback in C does not unwind
//   dropping_tx_notifies_rx                 -> channels: broadcast_closes_with_the_last_sender
//   resubscribe_points_to_tail, resubscribe_lagged, resubscribe_to_closed_channel -> resubscribing_begins_at_the_end
//   send_in_waker_drop                      -> no meaning: no waker of the user's lies in the channel; what a
//                                              wake runs is outside the lock (woken_tasks_send_at_once)
//   receiver_recv_is_cooperative            -> budget: a_hot_channel_lets_its_neighbour_run
//   broadcast_sender_closed, broadcast_sender_closed_with_extra_subscribe, broadcast_sender_new_must_be_closed
//                                           -> the_sender_hears_of_the_last_receiver
// tokio/tests/sync_broadcast_weak.rs:
//   weak_sender, downgrade_upgrade_sender_failure, downgrade_drop_upgrade, test_tx_count_weak_sender,
//   test_rx_is_closed_when_dropping_all_senders_except_weak_senders -> weak_senders_do_not_keep_it_open
//   sender_strong_count_*                   -> crt_broadcast_sender_count: test_channels.c
//   sender_weak_count_*, sender_strong_and_weak_conut -> no meaning: the weak ones are not counted apart
// tokio/src/sync/tests/loom_broadcast.rs: model_broadcast.c, channels: broadcast_and_watch_between_tasks
#include "channels.h"

static int cast(crt_broadcast_tx *tx, int v) { return crt_broadcast_send(tx, &v); }
static int catch_(crt_broadcast_rx *rx)
{
    int v = -1, r = crt_broadcast_try_recv(rx, &v, NULL);
    return r ? r : v;
}
static crt_broadcast_rx *join_(crt_broadcast_tx *tx)
{
    crt_broadcast_rx *rx = NULL;
    CHECK_EQ(crt_broadcast_subscribe(tx, &rx), 0);
    return rx;
}

// Random sends, receipts, subscriptions and drops against a model that keeps all values.
enum { FANS = 5 };
BODY(lag_against_a_model)
{
    POLLS;
    static const size_t capacities[] = {1, 2, 3, 4, 7, 8, 16};
    uint64_t seed = 0x1234567;
    for (size_t k = 0; k < sizeof capacities / sizeof capacities[0]; k++) {
        crt_broadcast_tx *tx;
        crt_broadcast_rx *rx[FANS] = {NULL};
        uint64_t next[FANS] = {0}, sent = 0, ring = 1;
        crt_slot s = {0};
        while (ring < capacities[k]) ring *= 2;
        CHECK_EQ(crt_broadcast_new(sizeof(int), capacities[k], &tx), 0);
        for (int step = 0; step < 4000; step++) {
            uint32_t dice = (uint32_t)(crt__random(&seed) % 100);
            int i = (int)(crt__random(&seed) % FANS), live = 0;
            for (int j = 0; j < FANS; j++) live += rx[j] != NULL;
            if (dice < 40) {
                int r = cast(tx, (int)sent);
                CHECK_EQ(r, live ? live : CRT_ECLOSED);
                if (live) sent++;
            } else if (dice < 45) {
                if (rx[i]) crt_broadcast_rx_drop(&rx[i]);
            } else if (!rx[i]) {
                int other = (i + 1) % FANS;
                if (rx[other]) CHECK_EQ(crt_broadcast_resubscribe(rx[other], &rx[i]), 0);
                else rx[i] = join_(tx);
                next[i] = sent;
            } else {
                uint64_t lagged = 0;
                int v = -1, r;
                if (dice & 1) r = crt_broadcast_try_recv(rx[i], &v, &lagged);
                else r = (int)AT(s, crt_broadcast_recv(cx, rx[i], &v, &lagged));
                if (next[i] == sent) {
                    CHECK_EQ(r, dice & 1 ? CRT_EEMPTY : PENDING);
                    if (!(dice & 1)) CHECK_EQ(CANCEL(s, crt_broadcast_recv(cx, rx[i], &v, &lagged)), UNWIND);
                } else if (sent - next[i] > ring) {
                    CHECK_EQ(r, CRT_ELAGGED);
                    CHECK_EQ(lagged, sent - ring - next[i]);
                    next[i] = sent - ring;
                } else {
                    CHECK_EQ(r, 0);
                    CHECK_EQ(v, next[i]++);
                }
                if (r && r != CRT_ELAGGED) CHECK_EQ(v, -1);
            }
            uint64_t most = 0;
            for (int j = 0; j < FANS; j++) {
                if (!rx[j]) continue;
                CHECK_EQ(crt_broadcast_rx_len(rx[j]), sent - next[j]);
                if (sent - next[j] > most) most = sent - next[j];
            }
            CHECK_EQ(crt_broadcast_len(tx), most > ring ? ring : most);
        }
        crt_broadcast_tx_drop(&tx);   // what is kept is still there, then it is over
        for (int i = 0; i < FANS; i++) {
            uint64_t lagged = 0;
            int v, r;
            if (!rx[i]) continue;
            while ((r = crt_broadcast_try_recv(rx[i], &v, &lagged)) != CRT_ECLOSED) {
                if (r == CRT_ELAGGED) next[i] += lagged;
                else CHECK_EQ(v, next[i]++);
            }
            CHECK_EQ(next[i], sent);
            crt_broadcast_rx_drop(&rx[i]);
        }
    }
}
BODY(a_slow_receiver_is_woken_once)
{
    POLLS;
    crt_broadcast_tx *tx;
    crt_slot a = {0}, b = {0};
    int v = -1, w = -1;
    CHECK_EQ(crt_broadcast_new(sizeof(int), 16, &tx), 0);
    crt_broadcast_rx *fast = join_(tx), *slow = join_(tx);
    CHECK_EQ(AT(a, crt_broadcast_recv(cx, fast, &v, NULL)), PENDING);
    CHECK_EQ(AT(b, crt_broadcast_recv(cx, slow, &w, NULL)), PENDING);
    CHECK_EQ(AT(b, crt_broadcast_recv(cx, slow, &w, NULL)), PENDING);   // polled for nothing
    CHECK_EQ(cast(tx, 1), 2);
    CHECK(WOKEN(a) && WOKEN(b));
    CHECK_EQ(cast(tx, 2), 2);
    CHECK_EQ(AT(a, crt_broadcast_recv(cx, fast, &v, NULL)), 0);
    CHECK_EQ(v, 1);
    CHECK_EQ(AT(a, crt_broadcast_recv(cx, fast, &v, NULL)), 0);
    CHECK_EQ(v, 2);
    CHECK_EQ(AT(a, crt_broadcast_recv(cx, fast, &v, NULL)), PENDING);
    CHECK_EQ(cast(tx, 3), 2);
    CHECK(WOKEN(a));
    CHECK_EQ(AT(a, crt_broadcast_recv(cx, fast, &v, NULL)), 0);
    CHECK_EQ(v, 3);
    for (int i = 1; i <= 3; i++) {
        CHECK_EQ(AT(b, crt_broadcast_recv(cx, slow, &w, NULL)), 0);
        CHECK_EQ(w, i);
    }
    CHECK_EQ(catch_(slow), CRT_EEMPTY);
    // Overtaken by the whole ring between the wake and the poll.
    crt_broadcast_rx_drop(&fast);
    CHECK_EQ(AT(b, crt_broadcast_recv(cx, slow, &w, NULL)), PENDING);
    for (int i = 0; i < 20; i++) CHECK_EQ(cast(tx, i), 1);
    uint64_t lagged = 0;
    CHECK_EQ(AT(b, crt_broadcast_recv(cx, slow, &w, &lagged)), CRT_ELAGGED);
    CHECK_EQ(lagged, 4);
    CHECK_EQ(AT(b, crt_broadcast_recv(cx, slow, &w, NULL)), 0);
    CHECK_EQ(w, 4);
    crt_broadcast_tx_drop(&tx);
    crt_broadcast_rx_drop(&slow);
    CHECK_EQ(AT(a, crt_broadcast_recv(cx, NULL, &w, NULL)), CRT_EINVAL);
}
// A receiver is dropped while others wait: they go on waiting and miss nothing.
BODY(receivers_go_while_others_wait)
{
    POLLS;
    crt_broadcast_tx *tx;
    crt_slot s[3] = {{0}};
    crt_broadcast_rx *rx[3];
    int v[3] = {-1, -1, -1};
    CHECK_EQ(crt_broadcast_new(sizeof(int), 2, &tx), 0);
    for (int i = 0; i < 3; i++) {
        rx[i] = join_(tx);
        CHECK_EQ(AT(s[i], crt_broadcast_recv(cx, rx[i], &v[i], NULL)), PENDING);
    }
    CHECK_EQ(CANCEL(s[1], crt_broadcast_recv(cx, rx[1], &v[1], NULL)), UNWIND);
    crt_broadcast_rx_drop(&rx[1]);
    CHECK(!WOKEN(s[0]) && !WOKEN(s[2]));
    CHECK_EQ(crt_broadcast_receiver_count(tx), 2);
    CHECK_EQ(cast(tx, 1), 2);
    for (int i = 0; i < 3; i += 2) {
        CHECK_EQ(AT(s[i], crt_broadcast_recv(cx, rx[i], &v[i], NULL)), 0);
        CHECK_EQ(v[i], 1);
    }
    CHECK_EQ(crt_broadcast_len(tx), 0);
    CHECK_EQ(cast(tx, 2), 2);
    crt_broadcast_rx_drop(&rx[0]);   // with a value it has not seen
    CHECK_EQ(crt_broadcast_len(tx), 1);
    CHECK_EQ(catch_(rx[2]), 2);
    crt_broadcast_rx_drop(&rx[2]);
    CHECK_EQ(crt_broadcast_receiver_count(tx), 0);
    crt_broadcast_tx_drop(&tx);
}
BODY(the_sender_hears_of_the_last_receiver)
{
    POLLS;
    crt_broadcast_tx *tx;
    crt_slot c = {0}, d = {0};
    CHECK_EQ(crt_broadcast_new(sizeof(int), 1, &tx), 0);
    CHECK_EQ(AT(c, crt_broadcast_closed(cx, tx)), 0);   // none yet
    crt_broadcast_rx *a = join_(tx), *b = join_(tx);
    CHECK_EQ(AT(c, crt_broadcast_closed(cx, tx)), PENDING);
    CHECK_EQ(AT(d, crt_broadcast_closed(cx, tx)), PENDING);
    crt_broadcast_rx_drop(&a);
    CHECK(!WOKEN(c));
    CHECK_EQ(AT(c, crt_broadcast_closed(cx, tx)), PENDING);
    crt_broadcast_rx_drop(&b);
    CHECK(WOKEN(c) && WOKEN(d));
    CHECK_EQ(AT(d, crt_broadcast_closed(cx, tx)), 0);
    a = join_(tx);   // somebody comes before the first is polled: it goes on waiting
    CHECK_EQ(AT(c, crt_broadcast_closed(cx, tx)), PENDING);
    CHECK(!WOKEN(c));
    crt_broadcast_rx_drop(&a);
    CHECK(WOKEN(c));
    CHECK_EQ(AT(c, crt_broadcast_closed(cx, tx)), 0);
    CHECK_EQ(AT(c, crt_broadcast_closed(cx, tx)), 0);
    CHECK_EQ(AT(c, crt_broadcast_closed(cx, NULL)), CRT_EINVAL);
    crt_broadcast_tx_drop(&tx);
}
BODY(resubscribing_begins_at_the_end)
{
    POLLS;
    crt_broadcast_tx *tx;
    crt_broadcast_rx *again, *third;
    crt_slot s = {0};
    int v = -1;
    CHECK_EQ(crt_broadcast_new(sizeof(int), 1, &tx), 0);
    crt_broadcast_rx *rx = join_(tx);
    CHECK_EQ(cast(tx, 1), 1);
    CHECK_EQ(cast(tx, 2), 1);
    CHECK_EQ(crt_broadcast_resubscribe(rx, &again), 0);
    CHECK_EQ(catch_(again), CRT_EEMPTY);   // neither the value nor the lag
    CHECK_EQ(catch_(rx), CRT_ELAGGED);
    CHECK_EQ(catch_(rx), 2);
    CHECK_EQ(cast(tx, 3), 2);
    CHECK_EQ(catch_(again), 3);
    CHECK_EQ(catch_(rx), 3);
    crt_broadcast_tx_drop(&tx);
    CHECK_EQ(crt_broadcast_resubscribe(rx, &third), 0);
    CHECK_EQ(AT(s, crt_broadcast_recv(cx, third, &v, NULL)), CRT_ECLOSED);
    CHECK_EQ(catch_(third), CRT_ECLOSED);
    crt_broadcast_rx_drop(&rx);
    crt_broadcast_rx_drop(&again);
    crt_broadcast_rx_drop(&third);
}
BODY(weak_senders_do_not_keep_it_open)
{
    POLLS;
    crt_broadcast_tx *tx, *up;
    crt_slot s = {0};
    int v = -1;
    CHECK_EQ(crt_broadcast_new(sizeof(int), 2, &tx), 0);
    crt_broadcast_rx *rx = join_(tx);
    crt_broadcast_weak_tx *weak = crt_broadcast_tx_downgrade(tx);
    up = crt_broadcast_weak_tx_upgrade(weak);
    CHECK(up && crt_broadcast_same_channel(up, tx));
    crt_broadcast_tx_drop(&tx);
    CHECK_EQ(AT(s, crt_broadcast_recv(cx, rx, &v, NULL)), PENDING);
    CHECK_EQ(cast(up, 4), 1);
    CHECK_EQ(AT(s, crt_broadcast_recv(cx, rx, &v, NULL)), 0);
    CHECK_EQ(v, 4);
    CHECK_EQ(AT(s, crt_broadcast_recv(cx, rx, &v, NULL)), PENDING);
    crt_broadcast_tx_drop(&up);
    CHECK(WOKEN(s));
    CHECK_EQ(AT(s, crt_broadcast_recv(cx, rx, &v, NULL)), CRT_ECLOSED);
    CHECK(!crt_broadcast_weak_tx_upgrade(weak));
    crt_broadcast_rx_drop(&rx);
    CHECK(!crt_broadcast_weak_tx_upgrade(weak));
    crt_broadcast_weak_tx_drop(&weak);   // the last reference
    crt_broadcast_weak_tx_drop(&weak);
    CHECK(!crt_broadcast_tx_downgrade(NULL) && !crt_broadcast_weak_tx_upgrade(NULL) && !crt_broadcast_tx_clone(NULL));
}

// --- elements

// Copies and values that own something: after every scenario the count is zero, and each
// value in the channel was released exactly once.
BODY(every_value_is_released_once)
{
    POLLS;
    uint64_t seed = 99;
    for (int round = 0; round < 60; round++) {
        crt_broadcast_tx *tx;
        crt_broadcast_rx *rx[3];
        crt_slot s[3] = {{0}};
        thing out[3];
        int sent = 0, copies = 0;
        things_forget();
        CHECK_EQ(crt_broadcast_new(sizeof(thing), (size_t)1 << (round % 4), &tx), 0);
        crt_broadcast_set_ops(tx, &thing_ops);
        for (int i = 0; i < 3; i++) rx[i] = join_(tx);
        for (int step = 0; step < 60; step++) {
            int i = (int)(crt__random(&seed) % 4), live = (rx[0] != NULL) + (rx[1] != NULL) + (rx[2] != NULL);
            if (i == 3) {
                thing t = thing_make(sent);
                int r = crt_broadcast_send(tx, &t);
                CHECK_EQ(r, live ? live : CRT_ECLOSED);
                if (r < 0) thing_release(t);   // no receiver: it stays with the caller
                else sent++;
            } else if (rx[i] && crt__random(&seed) % 20 == 0) {
                CHECK(!s[i].op);
                crt_broadcast_rx_drop(&rx[i]);
            } else if (rx[i] && AT(s[i], crt_broadcast_recv(cx, rx[i], &out[i], NULL)) == 0) {
                thing_release(out[i]);
                copies++;
            } else if (rx[i]) {
                CHECK(got == PENDING || got == CRT_ELAGGED);
                crt__slot_cancel(&s[i]);
            }
        }
        CHECK_EQ(things_cloned, copies);
        if (round & 1) crt_broadcast_tx_drop(&tx);
        for (int i = 0; i < 3; i++) crt_broadcast_rx_drop(&rx[i]);
        CHECK_EQ(things_alive, 0);   // with the last receiver, at the latest
        for (int i = 0; i < sent; i++) CHECK_EQ(things_dropped[i], 1);
        crt_broadcast_tx_drop(&tx);
        CHECK_EQ(things_alive, 0);
    }
}
BODY(sizes_and_memory)
{
    POLLS;
    static const size_t sizes[] = {0, 1, 7, 4096, 1 << 20};
    unsigned char *in = malloc(1 << 20), *out = malloc(1 << 20);
    crt_broadcast_tx *tx;
    crt_broadcast_rx *rx, *other;
    crt_slot s = {0};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        CHECK_EQ(crt_broadcast_new(sizes[k], 3, &tx), 0);
        rx = join_(tx);
        for (int i = 0; i < 11; i++) {
            memset(in, i + 1, 1 << 20);
            memset(out, 0xEE, 1 << 20);
            CHECK_EQ(crt_broadcast_send(tx, in), 1);
            CHECK_EQ(AT(s, crt_broadcast_recv(cx, rx, out, NULL)), 0);
            CHECK(!memcmp(in, out, sizes[k]));
            if (sizes[k] < 1 << 20) CHECK_EQ(out[sizes[k]], 0xEE);
        }
        memory_fails_at = 0;
        CHECK_EQ(crt_broadcast_subscribe(tx, &other), CRT_ENOMEM);
        memory_fails_at = 0;
        CHECK_EQ(crt_broadcast_resubscribe(rx, &other), CRT_ENOMEM);
        memory_fails_at = -1;
        CHECK(!other);
        CHECK_EQ(crt_broadcast_receiver_count(tx), 1);
        crt_broadcast_tx_drop(&tx);
        crt_broadcast_rx_drop(&rx);
    }
    free(in);
    free(out);
    memory_fails_at = 0;
    CHECK_EQ(crt_broadcast_new(4, 4, &tx), CRT_ENOMEM);
    memory_fails_at = -1;
    CHECK(!tx);
    CHECK_EQ(crt_broadcast_new((1 << 20) + 1, 1, &tx), CRT_EINVAL);
    CHECK_EQ(crt_broadcast_new(1, SIZE_MAX, &tx), CRT_EINVAL);
    CHECK_EQ(crt_broadcast_new(1, SIZE_MAX / 2 + 1, &tx), CRT_EINVAL);
    CHECK_EQ(crt_broadcast_new(0, SIZE_MAX / 4 + 1, &tx), CRT_EINVAL);
    crt_broadcast_tx_drop(&tx);
    crt_broadcast_tx_drop(NULL);
    crt_broadcast_rx_drop(NULL);
    crt_broadcast_weak_tx_drop(NULL);
}

// --- with tasks and threads

static int replies;   // atomic
typedef struct fan {
    crt_frame co;
    crt_broadcast_rx *rx;
    crt_broadcast_tx *reply;
    int v, sum;
    crt_poll r;
} fan;
static crt_poll fan_run(void *frame, crt_cx *cx)
{
    fan *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = crt_broadcast_recv(cx, self->rx, &self->v, NULL));
        if (self->r) break;
        self->sum += self->v;
        if (self->reply && self->v == 1) {   // into the channel that woke it
            CHECK_EQ(cast(self->reply, 10), 2);
            __atomic_fetch_add(&replies, 1, __ATOMIC_SEQ_CST);
        }
        if (self->v == 0) break;
    }
    CRT_RETURN(self->sum);
    CRT_FINALLY
        crt_broadcast_rx_drop(&self->rx);
        crt_broadcast_tx_drop(&self->reply);
    CRT_END;
}
typedef struct stage {
    crt_frame co;
    crt_broadcast_tx *tx;
    crt_broadcast_rx *rx;
    crt_join_handle *join[2];
    int i;
    intptr_t sum[2];
    crt_poll r;
} stage;
static crt_poll woken_tasks_send_run(void *frame, crt_cx *cx)
{
    stage *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_broadcast_new(sizeof(int), 8, &self->tx), 0);
    for (self->i = 0; self->i < 2; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], fan_run,
            (&(fan){.rx = join_(self->tx), .reply = crt_broadcast_tx_clone(self->tx)})), 0);
    CRT_YIELD();
    CHECK_EQ(cast(self->tx, 1), 2);
    while (__atomic_load_n(&replies, __ATOMIC_SEQ_CST) < 2) CRT_YIELD();
    CHECK_EQ(cast(self->tx, 0), 2);
    for (self->i = 0; self->i < 2; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], &self->sum[self->i]));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(self->sum[self->i], 21);
    }
    CRT_FINALLY
        crt_broadcast_tx_drop(&self->tx);
    CRT_END;
}
static void woken_tasks_send_at_once(crt_runtime *rt)
{
    for (int i = 0; i < 50; i++) {
        stage s = {0};
        replies = 0;
        CHECK_EQ(crt_block_on(rt, woken_tasks_send_run, &s), 0);
    }
}
// The receiver waits in one task, which is cancelled, and then in another.
typedef struct borrower {
    crt_frame co;
    crt_broadcast_rx *rx;
    int *polls, v;
    crt_poll r;
} borrower;
static crt_poll borrower_poll(borrower *self, crt_cx *cx)
{
    __atomic_fetch_add(self->polls, 1, __ATOMIC_SEQ_CST);
    return crt_broadcast_recv(cx, self->rx, &self->v, NULL);
}
static crt_poll borrower_run(void *frame, crt_cx *cx)
{
    borrower *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = borrower_poll(self, cx));
    CRT_RETURN(self->r ? self->r : self->v);
    CRT_END;
}
static crt_poll moves_run(void *frame, crt_cx *cx)
{
    stage *self = frame;
    static int polls[2];
    CRT_BEGIN(self, cx);
    polls[0] = polls[1] = 0;
    CHECK_EQ(crt_broadcast_new(sizeof(int), 2, &self->tx), 0);
    self->rx = join_(self->tx);
    for (self->i = 0; self->i < 2; self->i++) {
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], borrower_run, (&(borrower){.rx = self->rx, .polls = &polls[self->i]})), 0);
        while (!__atomic_load_n(&polls[self->i], __ATOMIC_SEQ_CST)) CRT_YIELD();
        if (self->i == 0) {
            crt_abort(self->join[0]);
            CRT_AWAIT(self->r = crt_join(cx, &self->join[0], NULL));
            CHECK_EQ(self->r, CRT_ECANCELED);
        }
    }
    CHECK_EQ(cast(self->tx, 7), 1);
    CRT_AWAIT(self->r = crt_join(cx, &self->join[1], &self->sum[1]));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->sum[1], 7);
    CRT_FINALLY
        crt_broadcast_tx_drop(&self->tx);
        crt_broadcast_rx_drop(&self->rx);
    CRT_END;
}
static void a_receiver_moves_between_tasks(crt_runtime *rt)
{
    stage s = {0};
    CHECK_EQ(crt_block_on(rt, moves_run, &s), 0);
}
// Plain threads: received and lagged add up to what was sent.
typedef struct ear {
    crt_broadcast_rx *rx;
    pthread_t id;
    uint64_t heard;
} ear;
static void *ear_run(void *arg)
{
    ear *e = arg;
    int v, last = -1, r;
    uint64_t lagged;
    while ((r = crt_broadcast_blocking_recv(e->rx, &v, &lagged)) != CRT_ECLOSED) {
        if (r == CRT_ELAGGED) {
            e->heard += lagged;
            last += (int)lagged;
            continue;
        }
        CHECK_EQ(r, 0);
        CHECK_EQ(v, ++last);
        e->heard++;
    }
    crt_broadcast_rx_drop(&e->rx);
    return NULL;
}
static void plain_threads_listen(void)
{
    crt_broadcast_tx *tx;
    ear e[3] = {{0}};
    CHECK_EQ(crt_broadcast_new(sizeof(int), 4, &tx), 0);
    for (int i = 0; i < 3; i++) {
        e[i].rx = join_(tx);
        CHECK_EQ(pthread_create(&e[i].id, NULL, ear_run, &e[i]), 0);
    }
    for (int i = 0; i < 2000; i++) CHECK_EQ(cast(tx, i), 3);
    crt_broadcast_tx_drop(&tx);
    for (int i = 0; i < 3; i++) {
        pthread_join(e[i].id, NULL);
        CHECK_EQ(e[i].heard, 2000);
    }
}
BODY(blocking_is_refused_inside_a_task)
{
    crt_broadcast_tx *tx;
    int v = 0;
    (void)cx;
    CHECK_EQ(crt_broadcast_new(sizeof(int), 2, &tx), 0);
    crt_broadcast_rx *rx = join_(tx);
    CHECK_EQ(cast(tx, 6), 1);
    CHECK_EQ(crt_broadcast_blocking_recv(rx, &v, NULL), CRT_ENESTED);
    CHECK_EQ(catch_(rx), 6);
    crt_broadcast_tx_drop(&tx);
    crt_broadcast_rx_drop(&rx);
}

// What a receiver that stands still has yet to see counts, whatever another takes meanwhile.
enum { SENT = 32, BEHIND = 24 };
static int length_phase;   // atomic: odd while the other takes
static void *taker_main(void *arg)
{
    crt_broadcast_rx *rx = arg;
    for (;;) {
        int phase = __atomic_load_n(&length_phase, __ATOMIC_SEQ_CST), value;
        if (phase < 0) return NULL;
        if (!(phase & 1) && test_pause_us(1) == 0) continue;
        while (crt_broadcast_try_recv(rx, &value, NULL) == 0) {}
        __atomic_store_n(&length_phase, phase + 1, __ATOMIC_SEQ_CST);
    }
}
static void the_length_is_that_of_who_is_furthest_behind(void)
{
    crt_broadcast_tx *tx;
    crt_broadcast_rx *a, *b;
    pthread_t taker;
    size_t least = SENT;
    int value, n = 0;
    CHECK_EQ(crt_broadcast_new(sizeof(int), 64, &tx), 0);
    CHECK_EQ(crt_broadcast_subscribe(tx, &b), 0);
    CHECK_EQ(crt_broadcast_subscribe(tx, &a), 0);
    __atomic_store_n(&length_phase, 0, __ATOMIC_SEQ_CST);
    CHECK_EQ(pthread_create(&taker, NULL, taker_main, b), 0);
    for (int64_t begun = crt__clock(); crt__clock() - begun < CRT_MS(400) || n < 10; n++) {
        for (int i = 0; i < SENT; i++) CHECK_EQ(crt_broadcast_send(tx, &i), 2);
        for (int i = BEHIND; i < SENT; i++) CHECK_EQ(crt_broadcast_try_recv(a, &value, NULL), 0);
        __atomic_fetch_add(&length_phase, 1, __ATOMIC_SEQ_CST);
        bool taking;
        do {
            taking = __atomic_load_n(&length_phase, __ATOMIC_SEQ_CST) & 1;
            size_t length = crt_broadcast_len(tx);
            least = crt__min(least, length);
            sched_yield();   // memcheck runs one thread at a time
        } while (taking);
        while (crt_broadcast_try_recv(a, &value, NULL) == 0) {}
    }
    CHECK_EQ(least, BEHIND);
    __atomic_store_n(&length_phase, -1, __ATOMIC_SEQ_CST);
    pthread_join(taker, NULL);
    crt_broadcast_rx_drop(&a);
    crt_broadcast_rx_drop(&b);
    crt_broadcast_tx_drop(&tx);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST_ON_EACH(lag_against_a_model);
    TEST_ON_EACH(a_slow_receiver_is_woken_once);
    TEST_ON_EACH(receivers_go_while_others_wait);
    TEST_ON_EACH(the_sender_hears_of_the_last_receiver);
    TEST_ON_EACH(resubscribing_begins_at_the_end);
    TEST_ON_EACH(weak_senders_do_not_keep_it_open);
    TEST_ON_EACH(every_value_is_released_once);
    TEST_ON_EACH(sizes_and_memory);
    TEST_ON_EACH(woken_tasks_send_at_once);
    TEST_ON_EACH(a_receiver_moves_between_tasks);
    TEST(plain_threads_listen);
    TEST_ON_EACH(blocking_is_refused_inside_a_task);
    TEST(the_length_is_that_of_who_is_furthest_behind);
    return test_end();
}
