// mpsc: what Tokio's own tests of it check, and what is crt's own.
//
// Held against tokio/tests/sync_mpsc.rs (Tokio's name -> test here; "channels:" is in
// test_channels.c, "cancel:" in test_channel_cancel.c):
//   send_recv_with_buffer, send_recv_unbounded, async_send_recv_with_buffer,
//   async_send_recv_unbounded                 -> channels: elements_come_out_in_order
//   reserve_disarm, drop_permit_releases_permit, drop_permit_iterator_releases_permits,
//   try_reserve_fails                         -> channels: permits_count_and_come_back,
//                                                unused_permits_of_many_go_to_who_waits
//   async_send_recv_many_with_buffer, send_recv_many_unbounded, send_recv_many_bounded_capacity,
//   send_recv_many_unbounded_capacity         -> recv_many_keeps_to_its_limit
//   recv_many_with_non_empty_buffer_{bounded,unbounded}_rx_closed_and_idle
//                                             -> recv_many_keeps_to_its_limit
//   start_send_past_cap, send_recv_buffer_limited -> room_comes_back_one_by_one
//   recv_close_gets_none_idle, recv_close_gets_none_reserved, tx_close_gets_none
//                                             -> closing_ends_the_stream
//   failed_/cancelled_reserve_many_wakes_closed_receiver, failed_/cancelled_reserve_wakes_closed_receiver,
//   dropping_last_permit_, dropping_last_owned_permit_, dropping_last_permit_iterator_,
//   sending_last_permit_, sending_last_owned_permit_, releasing_last_owned_permit_wakes_closed_receiver,
//   ready_close_cancel_bounded, permit_available_not_acquired_close
//                                             -> the_last_permit_wakes_a_closed_receiver
//   try_send_fail, try_send_fail_with_try_recv -> a_failed_try_send_takes_nothing
//   reserve_many_above_cap, try_reserve_many_edge_cases -> too_many_permits_are_refused
//                                                (CRT_EINVAL where Tokio's try_ says Full: it never could)
//   try_reserve_many_zero, reserve_many_zero  -> no_permits_at_all_are_always_there
//   reserve_many_and_send, try_reserve_many_and_send, try_reserve_many_full
//                                             -> many_permits_are_used_one_by_one
//   reserve_many_on_closed_channel, try_reserve_many_on_closed_channel,
//   dropping_rx_closes_channel, dropping_rx_closes_channel_for_try
//                                             -> a_dropped_receiver_refuses_every_form
//   unconsumed_messages_are_dropped           -> what_is_left_is_released_once
//   blocking_recv, blocking_send              -> plain_threads_wait_on_both_sides
//   blocking_recv_async, blocking_send_async  -> blocking_forms_are_refused_inside_a_task
//   try_recv_bounded, try_recv_unbounded      -> channels: elements_come_out_in_order
//   try_recv_after_receiver_close(_with_permit), try_recv_close_while_empty_{bounded,unbounded}
//                                             -> closing_ends_the_stream
//   recv_timeout                              -> a_receiver_with_a_time_limit
//   test_tx_capacity, test_rx_len_* (9), test_rx_unbounded_len_* (8), test_rx_is_empty_* (6),
//   test_rx_unbounded_is_empty_* (5), test_is_empty_32_msgs -> length_and_capacity_are_exact
//                                                (empty is len 0)
//   test_rx_is_closed_* (7), test_rx_unbounded_is_closed_* (5) -> closing_ends_the_stream
//                                                (crt_mpsc_rx_is_closed: test_channels.c)
//   drop_all_elements_during_panic            -> no meaning: a callback in C does not unwind
//   release_waker_on_rx_drop                  -> no meaning: what waits is the task's slot, not a waker in the
//                                                channel; cancel: every_wait_cancelled_at_every_moment
//   send_recv_stream_*, no_t_bounds_*, buffer_gteq_one, recv_timeout_panic -> no meaning: streams, traits,
//                                                capacity 0 is the unbounded channel, the time driver's own error
// tokio/tests/sync_mpsc_weak.rs:
//   weak_sender, downgrade_upgrade_*, downgrade_drop_upgrade(_unbounded), test_tx_count_weak_*,
//   sender_strong_*/weak_* (10), test_rx_*_is_closed_when_dropping_all_senders_except_weak_senders
//                                             -> weak_senders_do_not_keep_it_open
//   actor_weak_sender, actor_weak_unbounded_sender -> an_actor_that_sends_to_itself_ends
//   test_msgs_dropped_on_rx_drop, test_msgs_dropped_on_unbounded_rx_drop -> what_is_left_is_released_once
//   downgrade_(upgrade_)get_permit_*_no_senders -> a_forgotten_permit_does_not_hold_the_channel_open
//                                                (a permit is used through a tx here: it keeps nothing open)
// tokio/src/sync/tests/loom_mpsc.rs: model_channels.c, and racing_ends.
#include "channels.h"

static int send_int(crt_mpsc_tx *tx, int v) { return crt_mpsc_try_send(tx, &v); }
static int recv_int(crt_mpsc_rx *rx)
{
    int v = -1, r = crt_mpsc_try_recv(rx, &v);
    return r ? r : v;
}
static int send_thing(crt_mpsc_tx *tx, int id)
{
    thing t = thing_make(id);
    int r = crt_mpsc_try_send(tx, &t);
    if (r) thing_release(t);   // still ours
    return r;
}

// --- counting

BODY(length_and_capacity_are_exact)
{
    POLLS;
    for (size_t bounded = 0; bounded < 2; bounded++) {
        crt_mpsc_tx *tx, *twin;
        crt_mpsc_rx *rx;
        CHECK_EQ(crt_mpsc_new(sizeof(int), bounded ? 100 : 0, &tx, &rx), 0);
        CHECK_EQ(crt_mpsc_len(rx), 0);
        CHECK(crt_mpsc_max_capacity(tx) == (bounded ? 100 : SIZE_MAX));
        CHECK(crt_mpsc_capacity(tx) == (bounded ? 100 : SIZE_MAX));
        for (int round = 0; round < 3; round++) {
            for (int i = 0; i < 33; i++) {   // over the border of a block
                CHECK_EQ(send_int(tx, i), 0);
                CHECK_EQ(crt_mpsc_len(rx), i + 1);
                if (bounded) CHECK_EQ(crt_mpsc_capacity(tx), 99 - i);
            }
            for (int i = 0; i < 33; i++) {
                CHECK_EQ(recv_int(rx), i);
                CHECK_EQ(crt_mpsc_len(rx), 32 - i);
                if (bounded) CHECK_EQ(crt_mpsc_capacity(tx), 68 + i);
            }
        }
        if (bounded) {
            CHECK_EQ(crt_mpsc_try_reserve(tx), 0);
            CHECK_EQ(crt_mpsc_try_reserve_many(tx, 9), 0);
            CHECK_EQ(crt_mpsc_capacity(tx), 90);
            CHECK_EQ(crt_mpsc_len(rx), 0);   // a permit is no element
            CHECK_EQ(crt_mpsc_send_reserved(tx, &(int){5}), 0);
            CHECK_EQ(crt_mpsc_capacity(tx), 90);
            CHECK_EQ(recv_int(rx), 5);
            CHECK_EQ(crt_mpsc_capacity(tx), 91);
            for (int i = 0; i < 9; i++) crt_mpsc_unreserve(tx);
            CHECK_EQ(crt_mpsc_capacity(tx), 100);
        }
        for (int i = 0; i < 3; i++) CHECK_EQ(send_int(tx, i), 0);
        if (bounded) crt_mpsc_rx_close(rx);
        CHECK_EQ(crt_mpsc_len(rx), 3);   // closed: what is there counts
        twin = crt_mpsc_tx_clone(tx);
        CHECK(crt_mpsc_same_channel(tx, twin));
        CHECK_EQ(crt_mpsc_sender_count(rx), 2);
        crt_mpsc_tx_drop(&tx);
        CHECK_EQ(crt_mpsc_sender_count(rx), 1);
        crt_mpsc_tx_drop(&twin);
        CHECK_EQ(crt_mpsc_sender_count(rx), 0);
        CHECK_EQ(crt_mpsc_len(rx), 3);
        for (int i = 0; i < 3; i++) CHECK_EQ(recv_int(rx), i);
        CHECK_EQ(crt_mpsc_len(rx), 0);
        CHECK_EQ(recv_int(rx), CRT_ECLOSED);
        crt_mpsc_rx_drop(&rx);
    }
    crt_mpsc_tx *a, *b;
    crt_mpsc_rx *ra, *rb;
    CHECK_EQ(crt_mpsc_new(1, 1, &a, &ra), 0);
    CHECK_EQ(crt_mpsc_new(1, 1, &b, &rb), 0);
    CHECK(!crt_mpsc_same_channel(a, b));
    crt_mpsc_tx_drop(&a);
    crt_mpsc_tx_drop(&b);
    crt_mpsc_rx_drop(&ra);
    crt_mpsc_rx_drop(&rb);
    CHECK(!crt_mpsc_tx_clone(NULL));
    (void)cx;
}
BODY(room_comes_back_one_by_one)
{
    POLLS;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_slot a = {0}, b = {0}, r = {0};
    int v = 0, x = 10, y = 11;
    CHECK_EQ(crt_mpsc_new(sizeof(int), 2, &tx, &rx), 0);
    CHECK_EQ(send_int(tx, 1), 0);
    CHECK_EQ(send_int(tx, 2), 0);
    CHECK_EQ(AT(a, crt_mpsc_send(cx, tx, &x)), PENDING);
    CHECK_EQ(AT(b, crt_mpsc_reserve(cx, tx)), PENDING);
    CHECK_EQ(AT(r, crt_mpsc_recv(cx, rx, &v)), 0);
    CHECK(WOKEN(a) && !WOKEN(b));
    CHECK_EQ(AT(r, crt_mpsc_recv(cx, rx, &v)), 0);
    CHECK(WOKEN(b));
    CHECK_EQ(AT(b, crt_mpsc_reserve(cx, tx)), 0);   // polled first, but its element comes when it is sent
    CHECK_EQ(AT(a, crt_mpsc_send(cx, tx, &x)), 0);
    CHECK_EQ(crt_mpsc_send_reserved(tx, &y), 0);
    CHECK_EQ(recv_int(rx), 10);
    CHECK_EQ(recv_int(rx), 11);
    CHECK_EQ(crt_mpsc_capacity(tx), 2);
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
}
BODY(a_failed_try_send_takes_nothing)
{
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    (void)cx;
    things_forget();
    CHECK_EQ(crt_mpsc_new(sizeof(thing), 1, &tx, &rx), 0);
    crt_mpsc_on_drop(rx, thing_drop, &things_alive);
    thing t;
    for (int round = 0; round < 3; round++) {
        CHECK_EQ(send_thing(tx, round), 0);
        for (int i = 0; i < 3; i++) CHECK_EQ(send_thing(tx, 99), CRT_EFULL);
        CHECK_EQ(crt_mpsc_try_recv(rx, &t), 0);
        CHECK_EQ(thing_release(t), round);
    }
    CHECK_EQ(send_thing(tx, 5), 0);
    crt_mpsc_tx_drop(&tx);
    CHECK_EQ(crt_mpsc_try_recv(rx, &t), 0);
    CHECK_EQ(thing_release(t), 5);
    CHECK_EQ(crt_mpsc_try_recv(rx, &t), CRT_ECLOSED);
    crt_mpsc_rx_drop(&rx);
    CHECK_EQ(things_alive, 0);
}

// --- permits

BODY(many_permits_are_used_one_by_one)
{
    POLLS;
    crt_slot s = {0};
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    CHECK_EQ(crt_mpsc_new(sizeof(int), 100, &tx, &rx), 0);
    for (size_t n = 0; n <= 100; n++) {
        if (n & 1) CHECK_EQ(AT(s, crt_mpsc_reserve_many(cx, tx, n)), 0);
        else CHECK_EQ(crt_mpsc_try_reserve_many(tx, n), 0);
        CHECK_EQ(crt_mpsc_capacity(tx), 100 - n);
        for (size_t i = 0; i < n; i++) {
            CHECK_EQ(crt_mpsc_send_reserved(tx, &(int){(int)i}), 0);
            CHECK_EQ(recv_int(rx), i);
        }
        CHECK_EQ(recv_int(rx), CRT_EEMPTY);
        CHECK_EQ(crt_mpsc_capacity(tx), 100);
    }
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
    for (size_t n = 1; n < 20; n++) {
        for (size_t used = 0; used <= n; used++) {   // some used, the rest given back
            CHECK_EQ(crt_mpsc_new(sizeof(int), n, &tx, &rx), 0);
            CHECK_EQ(crt_mpsc_try_reserve_many(tx, n), 0);
            CHECK_EQ(crt_mpsc_capacity(tx), 0);
            CHECK_EQ(crt_mpsc_try_reserve_many(tx, 1), CRT_EFULL);
            for (size_t i = 0; i < used; i++) CHECK_EQ(crt_mpsc_send_reserved(tx, &(int){(int)i}), 0);
            for (size_t i = used; i < n; i++) crt_mpsc_unreserve(tx);
            CHECK_EQ(crt_mpsc_capacity(tx), n - used);
            if (used) CHECK_EQ(crt_mpsc_try_reserve_many(tx, n - used + 1), CRT_EFULL);
            CHECK_EQ(crt_mpsc_try_reserve_many(tx, n - used), 0);
            for (size_t i = used; i < n; i++) crt_mpsc_unreserve(tx);
            for (size_t i = 0; i < used; i++) CHECK_EQ(recv_int(rx), i);
            CHECK_EQ(crt_mpsc_capacity(tx), n);
            crt_mpsc_tx_drop(&tx);
            crt_mpsc_rx_drop(&rx);
        }
    }
}
BODY(no_permits_at_all_are_always_there)
{
    POLLS;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_slot s = {0}, a = {0};
    int v = 2;
    CHECK_EQ(crt_mpsc_new(sizeof(int), 1, &tx, &rx), 0);
    CHECK_EQ(crt_mpsc_try_reserve_many(tx, 0), 0);
    CHECK_EQ(AT(s, crt_mpsc_reserve_many(cx, tx, 0)), 0);
    CHECK_EQ(send_int(tx, 1), 0);   // full
    CHECK_EQ(crt_mpsc_try_reserve_many(tx, 0), 0);
    CHECK_EQ(AT(s, crt_mpsc_reserve_many(cx, tx, 0)), 0);
    CHECK_EQ(AT(a, crt_mpsc_send(cx, tx, &v)), PENDING);   // full, and somebody waits
    CHECK_EQ(crt_mpsc_try_reserve_many(tx, 0), 0);
    CHECK_EQ(AT(s, crt_mpsc_reserve_many(cx, tx, 0)), 0);
    CHECK_EQ(recv_int(rx), 1);
    CHECK_EQ(AT(a, crt_mpsc_send(cx, tx, &v)), 0);
    CHECK_EQ(recv_int(rx), 2);
    crt_mpsc_rx_drop(&rx);
    CHECK_EQ(crt_mpsc_try_reserve_many(tx, 0), CRT_ECLOSED);
    CHECK_EQ(AT(s, crt_mpsc_reserve_many(cx, tx, 0)), CRT_ECLOSED);
    crt_mpsc_tx_drop(&tx);
}
BODY(too_many_permits_are_refused)
{
    POLLS;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_slot s = {0};
    CHECK_EQ(crt_mpsc_new(sizeof(int), 1, &tx, &rx), 0);
    CHECK_EQ(crt_mpsc_try_reserve_many(tx, 2), CRT_EINVAL);
    CHECK_EQ(crt_mpsc_try_reserve_many(tx, SIZE_MAX), CRT_EINVAL);
    CHECK_EQ(AT(s, crt_mpsc_reserve_many(cx, tx, 2)), CRT_EINVAL);
    CHECK_EQ(AT(s, crt_mpsc_reserve_many(cx, tx, SIZE_MAX)), CRT_EINVAL);
    CHECK_EQ(crt_mpsc_capacity(tx), 1);
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
    CHECK_EQ(crt_mpsc_new(sizeof(int), 0, &tx, &rx), 0);   // unbounded: 2^32 - 1 at a time
    if (SIZE_MAX > UINT32_MAX) CHECK_EQ(crt_mpsc_try_reserve_many(tx, (size_t)UINT32_MAX + 1), CRT_EINVAL);
    CHECK_EQ(AT(s, crt_mpsc_reserve_many(cx, tx, 1000)), 0);
    for (int i = 0; i < 1000; i++) crt_mpsc_unreserve(tx);
    crt_mpsc_tx_drop(&tx);
    CHECK_EQ(recv_int(rx), CRT_ECLOSED);
    crt_mpsc_rx_drop(&rx);
    CHECK_EQ(AT(s, crt_mpsc_reserve(cx, NULL)), CRT_EINVAL);
    CHECK_EQ(AT(s, crt_mpsc_send(cx, NULL, NULL)), CRT_EINVAL);
    CHECK_EQ(AT(s, crt_mpsc_recv(cx, NULL, NULL)), CRT_EINVAL);
    CHECK_EQ(AT(s, crt_mpsc_closed(cx, NULL)), CRT_EINVAL);
}
// A large request at the head collects what comes and is not overtaken; when it goes,
// what it had collected serves those behind it, in order.
BODY(a_large_request_collects_and_is_not_overtaken)
{
    POLLS;
    for (int how = 0; how < 3; how++) {   // granted; cancelled half way; cancelled behind the head
        crt_mpsc_tx *tx;
        crt_mpsc_rx *rx;
        crt_slot big = {0}, one = {0}, two = {0};
        int x = 50;
        CHECK_EQ(crt_mpsc_new(sizeof(int), 4, &tx, &rx), 0);
        for (int i = 0; i < 4; i++) CHECK_EQ(send_int(tx, i), 0);
        CHECK_EQ(AT(big, crt_mpsc_reserve_many(cx, tx, 3)), PENDING);
        CHECK_EQ(AT(one, crt_mpsc_send(cx, tx, &x)), PENDING);
        CHECK_EQ(AT(two, crt_mpsc_reserve_many(cx, tx, 2)), PENDING);
        CHECK_EQ(recv_int(rx), 0);
        CHECK_EQ(recv_int(rx), 1);
        CHECK(!WOKEN(big) && !WOKEN(one) && !WOKEN(two));   // two of three
        CHECK_EQ(send_int(tx, 9), CRT_EFULL);
        CHECK_EQ(crt_mpsc_capacity(tx), 0);
        if (how == 1) {
            CHECK_EQ(CANCEL(big, crt_mpsc_reserve_many(cx, tx, 3)), UNWIND);
            CHECK(WOKEN(one) && !WOKEN(two));   // one to the second, one to the third
            CHECK_EQ(recv_int(rx), 2);
            CHECK(WOKEN(two));
            CHECK_EQ(AT(two, crt_mpsc_reserve_many(cx, tx, 2)), 0);
            CHECK_EQ(AT(one, crt_mpsc_send(cx, tx, &x)), 0);
            crt_mpsc_unreserve(tx);
            crt_mpsc_unreserve(tx);
        } else {
            if (how == 2) CHECK_EQ(CANCEL(one, crt_mpsc_send(cx, tx, &x)), UNWIND);
            CHECK_EQ(recv_int(rx), 2);
            CHECK(WOKEN(big) && !WOKEN(two));
            CHECK_EQ(recv_int(rx), 3);
            CHECK(!WOKEN(two));
            if (how == 0) CHECK_EQ(AT(one, crt_mpsc_send(cx, tx, &x)), 0);
            CHECK_EQ(AT(big, crt_mpsc_reserve_many(cx, tx, 3)), 0);
            crt_mpsc_unreserve(tx);   // two needs two: it has one already with how 2
            CHECK_EQ(WOKEN(two), how == 2);
            crt_mpsc_unreserve(tx);
            CHECK(WOKEN(two));
            crt_mpsc_unreserve(tx);
            CHECK_EQ(AT(two, crt_mpsc_reserve_many(cx, tx, 2)), 0);
            crt_mpsc_unreserve(tx);
            crt_mpsc_unreserve(tx);
        }
        while (recv_int(rx) >= 0) {}
        CHECK_EQ(crt_mpsc_capacity(tx), 4);
        crt_mpsc_tx_drop(&tx);
        CHECK_EQ(recv_int(rx), CRT_ECLOSED);
        crt_mpsc_rx_drop(&rx);
    }
}
BODY(unused_permits_of_many_go_to_who_waits)
{
    POLLS;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_slot s[3] = {{0}};
    CHECK_EQ(crt_mpsc_new(sizeof(int), 3, &tx, &rx), 0);
    CHECK_EQ(crt_mpsc_try_reserve_many(tx, 3), 0);
    for (int i = 0; i < 3; i++) CHECK_EQ(AT(s[i], crt_mpsc_reserve(cx, tx)), PENDING);
    for (int i = 0; i < 3; i++) {
        crt_mpsc_unreserve(tx);
        CHECK(WOKEN(s[i]) && (i == 2 || !WOKEN(s[i + 1])));
        CHECK_EQ(AT(s[i], crt_mpsc_reserve(cx, tx)), 0);
    }
    for (int i = 0; i < 3; i++) crt_mpsc_unreserve(tx);
    CHECK_EQ(crt_mpsc_capacity(tx), 3);
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
}
// Closed while a permit is out: the receiver waits, and the end of the last permit tells
// it, whichever way it ends.
BODY(the_last_permit_wakes_a_closed_receiver)
{
    POLLS;
    enum { UNRESERVED, SENT, GRANTED_CANCELLED, GRANTED_USED, QUEUED_FAILS, QUEUED_CANCELLED, MANY, HOWS };
    for (int how = 0; how < HOWS; how++) {
        crt_mpsc_tx *tx;
        crt_mpsc_rx *rx;
        crt_slot r = {0}, w = {0};
        int v = -1;
        bool sends = how == SENT || how == GRANTED_USED;
        CHECK_EQ(crt_mpsc_new(sizeof(int), how == MANY ? 3 : 2, &tx, &rx), 0);
        CHECK_EQ(crt_mpsc_try_reserve_many(tx, how == MANY ? 3 : 1), 0);
        if (how == GRANTED_CANCELLED || how == GRANTED_USED) {
            CHECK_EQ(crt_mpsc_try_reserve(tx), 0);
            CHECK_EQ(AT(w, crt_mpsc_reserve(cx, tx)), PENDING);
            crt_mpsc_unreserve(tx);   // granted to w
            crt_mpsc_unreserve(tx);
            CHECK(WOKEN(w));
        } else if (how == QUEUED_FAILS || how == QUEUED_CANCELLED) {
            CHECK_EQ(AT(w, crt_mpsc_reserve_many(cx, tx, 2)), PENDING);   // has one of two
        }
        crt_mpsc_close(rx);
        CHECK_EQ(AT(r, crt_mpsc_recv(cx, rx, &v)), PENDING);
        if (how == GRANTED_CANCELLED) CHECK_EQ(CANCEL(w, crt_mpsc_reserve(cx, tx)), UNWIND);
        if (how == GRANTED_USED) CHECK_EQ(AT(w, crt_mpsc_reserve(cx, tx)), 0);
        if (how == QUEUED_FAILS) CHECK_EQ(AT(w, crt_mpsc_reserve_many(cx, tx, 2)), CRT_ECLOSED);
        if (how == QUEUED_CANCELLED) CHECK_EQ(CANCEL(w, crt_mpsc_reserve_many(cx, tx, 2)), UNWIND);
        if (how != GRANTED_CANCELLED) CHECK(!WOKEN(r));   // the permit is still out
        if (how == MANY) {
            crt_mpsc_unreserve(tx);
            crt_mpsc_unreserve(tx);
            CHECK(!WOKEN(r));
        }
        if (sends) CHECK_EQ(crt_mpsc_send_reserved(tx, &(int){7}), 0);
        else if (how != GRANTED_CANCELLED) crt_mpsc_unreserve(tx);
        CHECK(WOKEN(r));
        CHECK_EQ(AT(r, crt_mpsc_recv(cx, rx, &v)), sends ? 0 : CRT_ECLOSED);
        if (sends) CHECK_EQ(v, 7);
        if (sends) CHECK_EQ(AT(r, crt_mpsc_recv(cx, rx, &v)), CRT_ECLOSED);
        crt__slot_cancel(&w);
        crt_mpsc_tx_drop(&tx);
        crt_mpsc_rx_drop(&rx);
    }
}
// Nobody can use or give back a permit once every tx is gone: the receiver ends.
BODY(a_forgotten_permit_does_not_hold_the_channel_open)
{
    POLLS;
    for (int parked = 0; parked < 2; parked++) {
        crt_mpsc_tx *tx;
        crt_mpsc_rx *rx;
        crt_slot r = {0};
        int v = 0;
        CHECK_EQ(crt_mpsc_new(sizeof(int), 2, &tx, &rx), 0);
        CHECK_EQ(crt_mpsc_try_reserve(tx), 0);
        CHECK_EQ(send_int(tx, 4), 0);
        CHECK_EQ(recv_int(rx), 4);
        if (parked) CHECK_EQ(AT(r, crt_mpsc_recv(cx, rx, &v)), PENDING);
        crt_mpsc_tx_drop(&tx);
        CHECK_EQ(AT(r, crt_mpsc_recv(cx, rx, &v)), CRT_ECLOSED);
        CHECK_EQ(recv_int(rx), CRT_ECLOSED);
        crt_mpsc_rx_drop(&rx);
    }
}

// --- the end

BODY(closing_ends_the_stream)
{
    POLLS;
    for (size_t capacity = 0; capacity <= 5; capacity += 5) {
        for (int how = 0; how < 4; how++) {   // close or drop the senders, empty or with elements
            crt_mpsc_tx *tx, *twin;
            crt_mpsc_rx *rx;
            crt_slot r = {0};
            int v = 0, many[4] = {0};
            CHECK_EQ(crt_mpsc_new(sizeof(int), capacity, &tx, &rx), 0);
            twin = crt_mpsc_tx_clone(tx);
            CHECK_EQ(recv_int(rx), CRT_EEMPTY);
            CHECK(!crt_mpsc_is_closed(tx));
            if (how & 1)
                for (int i = 0; i < 5; i++) CHECK_EQ(send_int(tx, i), 0);
            else CHECK_EQ(AT(r, crt_mpsc_recv(cx, rx, &v)), PENDING);
            if (how & 2) {
                crt_mpsc_rx_close(rx);
                crt_mpsc_rx_close(rx);   // again does nothing
                CHECK(crt_mpsc_is_closed(tx));
                CHECK_EQ(send_int(twin, 1), CRT_ECLOSED);
            } else {
                crt_mpsc_tx_drop(&tx);
                if (!(how & 1)) CHECK(!WOKEN(r));
                crt_mpsc_tx_drop(&twin);
            }
            if (!(how & 1)) CHECK(WOKEN(r));
            if (how & 1)
                for (int i = 0; i < 5; i++) {
                    CHECK_EQ(AT(r, crt_mpsc_recv(cx, rx, &v)), 0);
                    CHECK_EQ(v, i);
                }
            CHECK_EQ(AT(r, crt_mpsc_recv(cx, rx, &v)), CRT_ECLOSED);
            CHECK_EQ(AT(r, crt_mpsc_recv_many(cx, rx, many, 4)), CRT_ECLOSED);
            CHECK_EQ(recv_int(rx), CRT_ECLOSED);
            crt_mpsc_tx_drop(&tx);
            crt_mpsc_tx_drop(&twin);
            crt_mpsc_rx_drop(&rx);
        }
    }
}
BODY(a_dropped_receiver_refuses_every_form)
{
    POLLS;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_slot s[4] = {{0}}, c[3] = {{0}};
    things_forget();
    thing t = thing_make(1);
    CHECK_EQ(crt_mpsc_new(sizeof(thing), 1, &tx, &rx), 0);
    crt_mpsc_on_drop(rx, thing_drop, &things_alive);
    CHECK_EQ(send_thing(tx, 2), 0);
    CHECK_EQ(AT(s[0], crt_mpsc_send(cx, tx, &t)), PENDING);
    CHECK_EQ(AT(s[1], crt_mpsc_reserve(cx, tx)), PENDING);
    CHECK_EQ(AT(s[2], crt_mpsc_reserve_many(cx, tx, 1)), PENDING);
    for (int i = 0; i < 2; i++) CHECK_EQ(AT(c[i], crt_mpsc_closed(cx, tx)), PENDING);
    crt_mpsc_rx_drop(&rx);
    CHECK_EQ(things_dropped[2], 1);   // at once, though a sender lives
    for (int i = 0; i < 3; i++) CHECK(WOKEN(s[i]));
    for (int i = 0; i < 2; i++) CHECK(WOKEN(c[i]));
    CHECK_EQ(AT(s[0], crt_mpsc_send(cx, tx, &t)), CRT_ECLOSED);
    CHECK_EQ(AT(s[1], crt_mpsc_reserve(cx, tx)), CRT_ECLOSED);
    CHECK_EQ(AT(s[2], crt_mpsc_reserve_many(cx, tx, 1)), CRT_ECLOSED);
    for (int i = 0; i < 3; i++) CHECK_EQ(AT(c[i], crt_mpsc_closed(cx, tx)), 0);   // the third did not wait
    CHECK(crt_mpsc_is_closed(tx));
    CHECK_EQ(AT(s[0], crt_mpsc_send(cx, tx, &t)), CRT_ECLOSED);
    CHECK_EQ(AT(s[0], crt_mpsc_reserve(cx, tx)), CRT_ECLOSED);
    CHECK_EQ(AT(s[0], crt_mpsc_reserve_many(cx, tx, 1)), CRT_ECLOSED);
    CHECK_EQ(crt_mpsc_try_send(tx, &t), CRT_ECLOSED);
    CHECK_EQ(crt_mpsc_try_reserve(tx), CRT_ECLOSED);
    CHECK_EQ(crt_mpsc_try_reserve_many(tx, 1), CRT_ECLOSED);
    CHECK_EQ(thing_release(t), 1);
    CHECK_EQ(things_alive, 0);
    crt_mpsc_tx_drop(&tx);
}
// Elements in a channel that is dropped are released exactly once each, whatever their
// number (blocks hold 32) and whichever side goes first.
BODY(what_is_left_is_released_once)
{
    static const int counts[] = {0, 1, 31, 32, 33, 64, 100};
    (void)cx;
    for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++)
        for (int taken = 0; taken <= counts[k]; taken += 16)
            for (int how = 0; how < 4; how++) {
                crt_mpsc_tx *tx;
                crt_mpsc_rx *rx;
                thing t;
                things_forget();
                CHECK_EQ(crt_mpsc_new(sizeof(thing), how & 1 ? 100 : 0, &tx, &rx), 0);
                crt_mpsc_on_drop(rx, thing_drop, &things_alive);
                for (int i = 0; i < counts[k]; i++) CHECK_EQ(send_thing(tx, i), 0);
                for (int i = 0; i < taken; i++) {
                    CHECK_EQ(crt_mpsc_try_recv(rx, &t), 0);
                    CHECK_EQ(thing_release(t), i);
                }
                if (how & 2) crt_mpsc_tx_drop(&tx);
                CHECK_EQ(things_alive, counts[k] - taken);
                crt_mpsc_rx_drop(&rx);
                CHECK_EQ(things_alive, 0);
                crt_mpsc_tx_drop(&tx);
                for (int i = 0; i < counts[k]; i++) CHECK_EQ(things_dropped[i], i >= taken);
            }
}
BODY(recv_many_keeps_to_its_limit)
{
    POLLS;
    for (size_t capacity = 0; capacity <= 100; capacity += 100) {
        crt_mpsc_tx *tx;
        crt_mpsc_rx *rx;
        crt_slot r = {0};
        int v[16];
        for (int i = 0; i < 16; i++) v[i] = -1;
        CHECK_EQ(crt_mpsc_new(sizeof(int), capacity, &tx, &rx), 0);
        for (int i = 0; i < 10; i++) CHECK_EQ(send_int(tx, i), 0);
        CHECK_EQ(AT(r, crt_mpsc_recv_many(cx, rx, v, 9)), 9);
        for (int i = 0; i < 9; i++) CHECK_EQ(v[i], i);
        CHECK_EQ(v[9], -1);   // nothing behind the limit is written
        CHECK_EQ(AT(r, crt_mpsc_recv_many(cx, rx, v, 9)), 1);
        CHECK_EQ(v[0], 9);
        CHECK_EQ(v[1], 1);
        CHECK_EQ(AT(r, crt_mpsc_recv_many(cx, rx, v, 9)), PENDING);
        CHECK_EQ(crt_mpsc_try_reserve(tx), 0);
        CHECK_EQ(send_int(tx, 20), 0);
        CHECK_EQ(AT(r, crt_mpsc_recv_many(cx, rx, v, 9)), 1);
        // Closed with a permit out: it waits for that one.
        crt_mpsc_rx_close(rx);
        CHECK_EQ(AT(r, crt_mpsc_recv_many(cx, rx, v, 9)), PENDING);
        CHECK_EQ(crt_mpsc_send_reserved(tx, &(int){21}), 0);
        CHECK_EQ(AT(r, crt_mpsc_recv_many(cx, rx, v, 9)), 1);
        CHECK_EQ(v[0], 21);
        v[0] = 77;
        CHECK_EQ(AT(r, crt_mpsc_recv_many(cx, rx, v, 9)), CRT_ECLOSED);
        CHECK_EQ(v[0], 77);   // untouched
        CHECK_EQ(AT(r, crt_mpsc_recv_many(cx, rx, v, 0)), 0);
        crt_mpsc_tx_drop(&tx);
        crt_mpsc_rx_drop(&rx);
    }
}

// --- weak senders

BODY(weak_senders_do_not_keep_it_open)
{
    POLLS;
    for (size_t capacity = 0; capacity <= 2; capacity += 2) {
        crt_mpsc_tx *tx, *up;
        crt_mpsc_rx *rx;
        crt_mpsc_weak_tx *weak, *twin;
        crt_slot r = {0};
        int v = 0;
        CHECK_EQ(crt_mpsc_new(sizeof(int), capacity, &tx, &rx), 0);
        CHECK_EQ(crt_mpsc_weak_count(rx), 0);
        weak = crt_mpsc_tx_downgrade(tx);
        twin = crt_mpsc_weak_tx_clone(weak);
        CHECK_EQ(crt_mpsc_weak_count(rx), 2);
        CHECK_EQ(crt_mpsc_sender_count(rx), 1);
        up = crt_mpsc_weak_tx_upgrade(weak);
        CHECK(up && crt_mpsc_same_channel(tx, up));
        CHECK_EQ(crt_mpsc_sender_count(rx), 2);
        CHECK_EQ(crt_mpsc_weak_count(rx), 2);
        crt_mpsc_tx_drop(&tx);
        CHECK_EQ(AT(r, crt_mpsc_recv(cx, rx, &v)), PENDING);
        CHECK_EQ(send_int(up, 5), 0);   // an upgraded one keeps it open
        CHECK_EQ(AT(r, crt_mpsc_recv(cx, rx, &v)), 0);
        CHECK_EQ(v, 5);
        CHECK_EQ(AT(r, crt_mpsc_recv(cx, rx, &v)), PENDING);
        crt_mpsc_weak_tx_drop(&twin);
        CHECK(!twin && !WOKEN(r));
        CHECK_EQ(crt_mpsc_weak_count(rx), 1);
        crt_mpsc_tx_drop(&up);
        CHECK(WOKEN(r));
        CHECK_EQ(AT(r, crt_mpsc_recv(cx, rx, &v)), CRT_ECLOSED);
        CHECK(!crt_mpsc_weak_tx_upgrade(weak));   // too late
        CHECK_EQ(crt_mpsc_sender_count(rx), 0);
        CHECK_EQ(crt_mpsc_weak_count(rx), 1);
        crt_mpsc_rx_drop(&rx);
        CHECK(!crt_mpsc_weak_tx_upgrade(weak));
        crt_mpsc_weak_tx_drop(&weak);   // the last reference
        crt_mpsc_weak_tx_drop(&weak);   // NULL is accepted
        CHECK(!crt_mpsc_weak_tx_upgrade(NULL) && !crt_mpsc_tx_downgrade(NULL) && !crt_mpsc_weak_tx_clone(NULL));
    }
    // Upgraded after the receiver closed: a tx, but nothing can be sent.
    crt_mpsc_tx *tx, *up;
    crt_mpsc_rx *rx;
    CHECK_EQ(crt_mpsc_new(sizeof(int), 1, &tx, &rx), 0);
    crt_mpsc_weak_tx *weak = crt_mpsc_tx_downgrade(tx);
    crt_mpsc_rx_drop(&rx);
    up = crt_mpsc_weak_tx_upgrade(weak);
    CHECK(up != NULL);
    CHECK_EQ(send_int(up, 1), CRT_ECLOSED);
    crt_mpsc_weak_tx_drop(&weak);
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_tx_drop(&up);
}
// An actor that holds only a weak sender to itself goes on while somebody outside can
// send, and ends after that.
typedef struct actor {
    crt_frame co;
    crt_mpsc_rx *rx;
    crt_mpsc_weak_tx *self_tx;
    int v, seen;
    crt_poll r;
} actor;
static crt_poll actor_run(void *frame, crt_cx *cx)
{
    actor *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = crt_mpsc_recv(cx, self->rx, &self->v));
        if (self->r) break;
        self->seen++;
        if (self->v > 0) {   // sends itself the rest, while it can
            crt_mpsc_tx *tx = crt_mpsc_weak_tx_upgrade(self->self_tx);
            if (tx) CHECK_EQ(send_int(tx, self->v - 1), 0);
            crt_mpsc_tx_drop(&tx);
        }
    }
    CHECK_EQ(self->r, CRT_ECLOSED);
    CRT_RETURN(self->seen);
    CRT_FINALLY
        crt_mpsc_rx_drop(&self->rx);
        crt_mpsc_weak_tx_drop(&self->self_tx);
    CRT_END;
}
typedef struct actor_user {
    crt_frame co;
    crt_mpsc_tx *tx;
    crt_join_handle *join;
    intptr_t seen;
    crt_poll r;
} actor_user;
static crt_poll actor_user_run(void *frame, crt_cx *cx)
{
    actor_user *self = frame;
    CRT_BEGIN(self, cx);
    {
        crt_mpsc_rx *rx;
        CHECK_EQ(crt_mpsc_new(sizeof(int), 0, &self->tx, &rx), 0);
        CHECK_EQ(crt_spawn_join(cx, &self->join, actor_run,
            &(actor){.rx = rx, .self_tx = crt_mpsc_tx_downgrade(self->tx)}), 0);
    }
    CHECK_EQ(send_int(self->tx, 2), 0);
    CRT_YIELD();
    CHECK_EQ(send_int(self->tx, 0), 0);
    CHECK(!crt_is_finished(self->join));   // our tx keeps it alive
    crt_mpsc_tx_drop(&self->tx);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->seen));
    CHECK_EQ(self->r, 0);
    CHECK(self->seen >= 2 && self->seen <= 4);
    CRT_END;
}
static void an_actor_that_sends_to_itself_ends(crt_runtime *rt)
{
    actor_user a = {0};
    CHECK_EQ(crt_block_on(rt, actor_user_run, &a), 0);
}

// --- time, threads

typedef struct timed {
    crt_frame co;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_timer timer;
    int v;
    crt_poll r;
} timed;
static crt_poll timed_run(void *frame, crt_cx *cx)
{
    timed *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_mpsc_new(sizeof(int), 1, &self->tx, &self->rx), 0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(10), crt_mpsc_recv(cx, self->rx, &self->v)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    self->v = 3;
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(10), crt_mpsc_send(cx, self->tx, &self->v)));
    CHECK_EQ(self->r, 0);
    self->v = 4;
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(10), crt_mpsc_send(cx, self->tx, &self->v)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);   // full: not sent
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(10), crt_mpsc_recv(cx, self->rx, &self->v)));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->v, 3);
    CHECK_EQ(recv_int(self->rx), CRT_EEMPTY);
    CHECK_EQ(crt_mpsc_capacity(self->tx), 1);
    crt_mpsc_tx_drop(&self->tx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(100), crt_mpsc_recv(cx, self->rx, &self->v)));
    CHECK_EQ(self->r, CRT_ECLOSED);
    CRT_FINALLY
        crt_mpsc_rx_drop(&self->rx);
    CRT_END;
}
static void a_receiver_with_a_time_limit(void)
{
    crt_runtime *rt;
    timed t = {0};
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .start_paused = true}, &rt), 0);
    CHECK_EQ(crt_block_on(rt, timed_run, &t), 0);
    crt_runtime_drop(&rt);
}
BODY(blocking_forms_are_refused_inside_a_task)
{
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    int v[2] = {1, 1};
    (void)cx;
    CHECK_EQ(crt_mpsc_new(sizeof(int), 1, &tx, &rx), 0);
    CHECK_EQ(crt_mpsc_blocking_send(tx, v), CRT_ENESTED);
    CHECK_EQ(crt_mpsc_blocking_recv(rx, v), CRT_ENESTED);
    CHECK_EQ(crt_mpsc_blocking_recv_many(rx, v, 2), CRT_ENESTED);
    CHECK_EQ(crt_mpsc_len(rx), 0);
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
}
typedef struct side {
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    int n, r, got;   // got: atomic
} side;
static void *side_sends(void *arg)
{
    side *s = arg;
    for (int i = 0; i < s->n && !s->r; i++) {
        s->r = crt_mpsc_blocking_send(s->tx, &i);
        if (!s->r) __atomic_fetch_add(&s->got, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}
static void *side_receives_many(void *arg)
{
    side *s = arg;
    int v[7], next = 0;
    while ((s->r = crt_mpsc_blocking_recv_many(s->rx, v, 7)) > 0)
        for (int i = 0; i < s->r; i++) CHECK_EQ(v[i], next++);
    s->got = next;
    return NULL;
}
static void plain_threads_wait_on_both_sides(void)
{
    side a = {.n = 500}, b = {0};
    pthread_t t, u;
    CHECK_EQ(crt_mpsc_new(sizeof(int), 3, &a.tx, &b.rx), 0);
    CHECK_EQ(pthread_create(&t, NULL, side_receives_many, &b), 0);
    CHECK_EQ(pthread_create(&u, NULL, side_sends, &a), 0);
    pthread_join(u, NULL);
    CHECK_EQ(a.r, 0);
    crt_mpsc_tx_drop(&a.tx);
    pthread_join(t, NULL);
    CHECK_EQ(b.r, CRT_ECLOSED);
    CHECK_EQ(b.got, 500);
    crt_mpsc_rx_drop(&b.rx);

    // A full channel holds the sender until there is room, or until it closes.
    int v = -1;
    a = (side){.n = 10};
    CHECK_EQ(crt_mpsc_new(sizeof(int), 1, &a.tx, &b.rx), 0);
    CHECK_EQ(pthread_create(&t, NULL, side_sends, &a), 0);
    CHECK_EQ(crt_mpsc_blocking_recv(b.rx, &v), 0);
    CHECK_EQ(v, 0);
    while (__atomic_load_n(&a.got, __ATOMIC_SEQ_CST) < 2) test_pause_us(100);
    crt_mpsc_rx_close(b.rx);
    pthread_join(t, NULL);
    CHECK_EQ(a.r, CRT_ECLOSED);
    CHECK_EQ(a.got, 2);
    CHECK_EQ(crt_mpsc_blocking_recv(b.rx, &v), 0);
    CHECK_EQ(v, 1);
    CHECK_EQ(crt_mpsc_blocking_recv(b.rx, &v), CRT_ECLOSED);
    crt_mpsc_rx_drop(&b.rx);
    crt_mpsc_tx_drop(&a.tx);
}
// Two senders drop while the receiver waits, again and again: it always hears of it, and
// len is never 0 between a send and its receipt.
static void *side_sends_and_drops(void *arg)
{
    side *s = arg;
    if (s->n) CHECK_EQ(crt_mpsc_try_send(s->tx, &s->n), 0);
    crt_mpsc_tx_drop(&s->tx);
    return NULL;
}
static void racing_ends(void)
{
    for (int round = 0; round < 100; round++) {
        crt_mpsc_rx *rx;
        side s[2] = {{.n = round & 1}, {.n = round & 2}};
        pthread_t t[2];
        int sum = 0, v;
        CHECK_EQ(crt_mpsc_new(sizeof(int), round & 4 ? 0 : 2, &s[0].tx, &rx), 0);
        s[1].tx = crt_mpsc_tx_clone(s[0].tx);
        for (int i = 0; i < 2; i++) CHECK_EQ(pthread_create(&t[i], NULL, side_sends_and_drops, &s[i]), 0);
        while (crt_mpsc_blocking_recv(rx, &v) == 0) sum += v;
        CHECK_EQ(sum, (round & 1) + (round & 2));
        for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
        crt_mpsc_rx_drop(&rx);
    }
}

// --- no memory

// Every allocation fails in turn; the call says CRT_ENOMEM, the element stays with the
// caller, order and permits are kept.
BODY(more_permits_than_can_be_counted)
{
    POLLS;
    crt_slot s = {0};
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    CHECK_EQ(crt_mpsc_new(sizeof(int), 0, &tx, &rx), 0);
    if (sizeof(size_t) > 4) CHECK_EQ(AT(s, crt_mpsc_reserve_many(cx, tx, (size_t)UINT32_MAX + (size_t)1)), CRT_EINVAL);
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
}
BODY(no_memory_loses_nothing)
{
    POLLS;
    crt_mpsc_tx *tx = NULL;
    crt_mpsc_rx *rx = NULL;
    memory_fails_at = 0;
    CHECK_EQ(crt_mpsc_new(sizeof(int), 4, &tx, &rx), CRT_ENOMEM);
    CHECK(!tx && !rx);
    memory_fails_at = -1;
    for (int bounded = 0; bounded < 2; bounded++) {
        crt_slot s = {0};
        int sent = 0, failed = 0, next = 0;
        CHECK_EQ(crt_mpsc_new(1000, bounded ? 64 : 0, &tx, &rx), 0);   // four elements in a block
        char big[1000] = {0}, out[1000];
        for (int i = 0; i < 60; i++) {
            memory_fails_at = i % 3 ? -1 : 0;
            big[0] = (char)sent;
            int r = i & 1 ? crt_mpsc_try_send(tx, big) : (int)AT(s, crt_mpsc_send(cx, tx, big));
            memory_fails_at = -1;
            CHECK(r == 0 || r == CRT_ENOMEM);
            if (r) failed++;
            else sent++;
            CHECK_EQ(crt_mpsc_len(rx), sent - next);
            if (bounded) CHECK_EQ(crt_mpsc_capacity(tx), 64 - (sent - next));
            if (i % 5 == 4) {
                CHECK_EQ(crt_mpsc_try_recv(rx, out), 0);
                CHECK_EQ(out[0], next++);
            }
        }
        CHECK(failed >= 4);
        while (next < sent) {
            CHECK_EQ(crt_mpsc_try_recv(rx, out), 0);
            CHECK_EQ(out[0], next++);
        }
        CHECK_EQ(crt_mpsc_try_recv(rx, out), CRT_EEMPTY);
        crt_mpsc_tx_drop(&tx);
        crt_mpsc_rx_drop(&rx);
    }
}
// A waiting sender is granted room and then finds no memory: the room goes on to the next.
BODY(no_memory_after_the_grant_passes_the_room_on)
{
    POLLS;
    for (int reserved = 0; reserved < 2; reserved++) {
        crt_mpsc_tx *tx;
        crt_mpsc_rx *rx;
        crt_slot a = {0}, b = {0};
        static char elem[5000], out[5000];   // one to a block
        CHECK_EQ(crt_mpsc_new(sizeof elem, 1, &tx, &rx), 0);
        if (reserved) CHECK_EQ(crt_mpsc_try_reserve(tx), 0);
        else CHECK_EQ(crt_mpsc_try_send(tx, elem), 0);
        if (!reserved) CHECK_EQ(AT(a, crt_mpsc_send(cx, tx, elem)), PENDING);
        CHECK_EQ(AT(b, crt_mpsc_send(cx, tx, elem)), PENDING);
        if (!reserved) CHECK_EQ(crt_mpsc_try_recv(rx, out), 0);
        CHECK(!WOKEN(b));
        memory_fails_at = 0;
        if (reserved) CHECK_EQ(crt_mpsc_send_reserved(tx, elem), CRT_ENOMEM);
        else CHECK_EQ(AT(a, crt_mpsc_send(cx, tx, elem)), CRT_ENOMEM);
        memory_fails_at = -1;
        CHECK(WOKEN(b));
        CHECK_EQ(AT(b, crt_mpsc_send(cx, tx, elem)), 0);
        CHECK_EQ(crt_mpsc_capacity(tx), 0);
        CHECK_EQ(crt_mpsc_try_recv(rx, out), 0);
        CHECK_EQ(crt_mpsc_capacity(tx), 1);
        crt_mpsc_tx_drop(&tx);
        crt_mpsc_rx_drop(&rx);
    }
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST_ON_EACH(length_and_capacity_are_exact);
    TEST_ON_EACH(room_comes_back_one_by_one);
    TEST_ON_EACH(a_failed_try_send_takes_nothing);
    TEST_ON_EACH(many_permits_are_used_one_by_one);
    TEST_ON_EACH(no_permits_at_all_are_always_there);
    TEST_ON_EACH(too_many_permits_are_refused);
    TEST_ON_EACH(a_large_request_collects_and_is_not_overtaken);
    TEST_ON_EACH(unused_permits_of_many_go_to_who_waits);
    TEST_ON_EACH(the_last_permit_wakes_a_closed_receiver);
    TEST_ON_EACH(a_forgotten_permit_does_not_hold_the_channel_open);
    TEST_ON_EACH(closing_ends_the_stream);
    TEST_ON_EACH(a_dropped_receiver_refuses_every_form);
    TEST_ON_EACH(what_is_left_is_released_once);
    TEST_ON_EACH(recv_many_keeps_to_its_limit);
    TEST_ON_EACH(weak_senders_do_not_keep_it_open);
    TEST_ON_EACH(an_actor_that_sends_to_itself_ends);
    TEST(a_receiver_with_a_time_limit);
    TEST_ON_EACH(blocking_forms_are_refused_inside_a_task);
    TEST(plain_threads_wait_on_both_sides);
    TEST(racing_ends);
    TEST_ON_EACH(more_permits_than_can_be_counted);
    TEST_ON_EACH(no_memory_loses_nothing);
    TEST_ON_EACH(no_memory_after_the_grant_passes_the_room_on);
    return test_end();
}
