// mpsc, oneshot, broadcast, watch: order, back-pressure, closing, and that a cancelled
// operation neither loses nor doubles anything.
//
// Most tests poll the leaf functions by hand (channels.h), the ones at the end use real
// tasks and threads. More: test_mpsc.c, test_oneshot.c, test_broadcast.c, test_watch.c hold
// each primitive against Tokio's own tests, test_channel_cancel.c cancels every wait.
#include "channels.h"

// What on_drop was told.
static int dropped[64], drops;
static void count_drop(void *elem, void *user)
{
    CHECK(user == &drops);
    int i = 0;
    memcpy(&i, elem, sizeof i);
    if (i >= 0 && i < 64) dropped[i]++;
    drops++;
}
static void forget_drops(void)
{
    memset(dropped, 0, sizeof dropped);
    drops = 0;
}
static int send_int(crt_mpsc_tx *tx, int v) { return crt_mpsc_try_send(tx, &v); }
static int recv_int(crt_mpsc_rx *rx)
{
    int v = -1, r = crt_mpsc_try_recv(rx, &v);
    return r ? r : v;
}

// --- mpsc, by hand

BODY(elements_come_out_in_order)
{
    POLLS;
    for (size_t capacity = 0; capacity <= 100; capacity += 100) {
        crt_mpsc_tx *tx;
        crt_mpsc_rx *rx;
        crt_slot s = {0};
        int v = -1;
        CHECK_EQ(crt_mpsc_new(sizeof(int), capacity, &tx, &rx), 0);
        for (int round = 0; round < 5; round++) {   // over several blocks and recycled ones
            for (int i = 0; i < 100; i++) CHECK_EQ(AT(s, crt_mpsc_send(cx, tx, &i)), 0);
            CHECK_EQ(crt_mpsc_len(rx), 100);
            if (capacity) CHECK_EQ(send_int(tx, 7), CRT_EFULL);
            for (int i = 0; i < 100; i++) {
                CHECK_EQ(AT(s, crt_mpsc_recv(cx, rx, &v)), 0);
                CHECK_EQ(v, i);
                CHECK_EQ(crt_mpsc_len(rx), 99 - i);
            }
            CHECK_EQ(recv_int(rx), CRT_EEMPTY);
        }
        crt_mpsc_tx_drop(&tx);
        CHECK(tx == NULL);
        CHECK_EQ(recv_int(rx), CRT_ECLOSED);
        crt_mpsc_rx_drop(&rx);
        CHECK(rx == NULL);
        crt_mpsc_tx_drop(&tx);   // NULL is accepted
        crt_mpsc_rx_drop(&rx);
    }
}
static void bad_sizes(void)
{
    crt_mpsc_tx *tx = (crt_mpsc_tx *)&drops;
    crt_mpsc_rx *rx = (crt_mpsc_rx *)&drops;
    crt_broadcast_tx *btx = (crt_broadcast_tx *)&drops;
    CHECK_EQ(crt_mpsc_new((1 << 20) + 1, 1, &tx, &rx), CRT_EINVAL);
    CHECK(!tx && !rx);
    CHECK_EQ(crt_broadcast_new(4, 0, &btx), CRT_EINVAL);
    CHECK(!btx);
    CHECK_EQ(crt_broadcast_new(1 << 20, SIZE_MAX / 8, &btx), CRT_EINVAL);   // size * capacity overflows
}
BODY(waiting_senders_are_served_in_order_of_arrival)
{
    POLLS;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_slot s[4] = {{0}};
    int v[4] = {10, 11, 12, 13};
    CHECK_EQ(crt_mpsc_new(sizeof(int), 1, &tx, &rx), 0);
    CHECK_EQ(send_int(tx, 1), 0);
    for (int i = 0; i < 3; i++) CHECK_EQ(AT(s[i], crt_mpsc_send(cx, tx, &v[i])), PENDING);
    CHECK_EQ(recv_int(rx), 1);
    // The room belongs to the first; nobody overtakes it, however it asks.
    CHECK_EQ(send_int(tx, 99), CRT_EFULL);
    CHECK_EQ(crt_mpsc_try_reserve(tx), CRT_EFULL);
    CHECK_EQ(AT(s[3], crt_mpsc_send(cx, tx, &v[3])), PENDING);
    CHECK_EQ(AT(s[2], crt_mpsc_send(cx, tx, &v[2])), PENDING);
    CHECK_EQ(AT(s[1], crt_mpsc_send(cx, tx, &v[1])), PENDING);
    CHECK_EQ(recv_int(rx), CRT_EEMPTY);
    CHECK_EQ(AT(s[0], crt_mpsc_send(cx, tx, &v[0])), 0);
    for (int i = 1; i < 4; i++) {
        CHECK_EQ(AT(s[i], crt_mpsc_send(cx, tx, &v[i])), PENDING);
        CHECK_EQ(recv_int(rx), v[i - 1]);
        CHECK_EQ(AT(s[i], crt_mpsc_send(cx, tx, &v[i])), 0);
    }
    CHECK_EQ(recv_int(rx), 13);
    CHECK_EQ(send_int(tx, 5), 0);   // nobody waits: the room is free again
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
}
BODY(a_cancelled_send_is_not_sent_and_passes_its_room_on)
{
    POLLS;
    for (int when = 0; when < 4; when++) {   // before the first poll, queued, granted, granted and last
        crt_mpsc_tx *tx;
        crt_mpsc_rx *rx;
        crt_slot a = {0}, b = {0};
        int va = 10, vb = 11;
        CHECK_EQ(crt_mpsc_new(sizeof(int), 1, &tx, &rx), 0);
        CHECK_EQ(send_int(tx, 1), 0);
        if (when == 0) CHECK_EQ(CANCEL(a, crt_mpsc_send(cx, tx, &va)), UNWIND);
        else CHECK_EQ(AT(a, crt_mpsc_send(cx, tx, &va)), PENDING);
        if (when < 3) CHECK_EQ(AT(b, crt_mpsc_send(cx, tx, &vb)), PENDING);
        if (when == 1) CHECK_EQ(CANCEL(a, crt_mpsc_send(cx, tx, &va)), UNWIND);
        CHECK_EQ(recv_int(rx), 1);
        if (when == 2) {
            CHECK_EQ(AT(b, crt_mpsc_send(cx, tx, &vb)), PENDING);
            CHECK_EQ(CANCEL(a, crt_mpsc_send(cx, tx, &va)), UNWIND);
        }
        if (when == 3) {
            CHECK_EQ(send_int(tx, 99), CRT_EFULL);
            CHECK_EQ(CANCEL(a, crt_mpsc_send(cx, tx, &va)), UNWIND);
            CHECK_EQ(send_int(tx, 11), 0);
        } else {
            CHECK_EQ(AT(b, crt_mpsc_send(cx, tx, &vb)), 0);
        }
        CHECK_EQ(recv_int(rx), 11);
        CHECK_EQ(recv_int(rx), CRT_EEMPTY);
        CHECK_EQ(send_int(tx, 2), 0);
        CHECK_EQ(send_int(tx, 3), CRT_EFULL);
        CHECK(!a.op && !b.op);
        crt_mpsc_tx_drop(&tx);
        crt_mpsc_rx_drop(&rx);
    }
}
BODY(permits_count_and_come_back)
{
    POLLS;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_slot a = {0}, b = {0};
    int v = 1;
    CHECK_EQ(crt_mpsc_new(sizeof(int), 2, &tx, &rx), 0);
    CHECK_EQ(AT(a, crt_mpsc_reserve(cx, tx)), 0);
    CHECK_EQ(crt_mpsc_try_reserve(tx), 0);
    CHECK_EQ(crt_mpsc_len(rx), 0);
    CHECK_EQ(send_int(tx, 9), CRT_EFULL);
    CHECK_EQ(AT(a, crt_mpsc_reserve(cx, tx)), PENDING);
    CHECK_EQ(AT(b, crt_mpsc_reserve(cx, tx)), PENDING);
    crt_mpsc_unreserve(tx);   // to a, in order
    CHECK_EQ(AT(b, crt_mpsc_reserve(cx, tx)), PENDING);
    CHECK_EQ(CANCEL(a, crt_mpsc_reserve(cx, tx)), UNWIND);   // granted: on to b
    CHECK_EQ(AT(b, crt_mpsc_reserve(cx, tx)), 0);
    CHECK_EQ(crt_mpsc_send_reserved(tx, &v), 0);
    v = 2;
    CHECK_EQ(crt_mpsc_send_reserved(tx, &v), 0);
    CHECK_EQ(send_int(tx, 9), CRT_EFULL);
    CHECK_EQ(recv_int(rx), 1);
    CHECK_EQ(recv_int(rx), 2);
    CHECK_EQ(crt_mpsc_try_reserve(tx), 0);
    crt_mpsc_unreserve(tx);
    CHECK_EQ(send_int(tx, 3), 0);
    CHECK_EQ(send_int(tx, 4), 0);
    CHECK_EQ(send_int(tx, 5), CRT_EFULL);
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
}
BODY(a_permit_outlives_the_close)
{
    POLLS;
    for (int use = 0; use < 2; use++) {
        crt_mpsc_tx *tx;
        crt_mpsc_rx *rx;
        crt_slot a = {0}, s = {0};
        int v = 6;
        CHECK_EQ(crt_mpsc_new(sizeof(int), 3, &tx, &rx), 0);
        CHECK_EQ(send_int(tx, 5), 0);
        CHECK_EQ(AT(a, crt_mpsc_reserve(cx, tx)), 0);
        crt_mpsc_rx_close(rx);
        CHECK_EQ(send_int(tx, 9), CRT_ECLOSED);
        CHECK_EQ(crt_mpsc_try_reserve(tx), CRT_ECLOSED);
        CHECK_EQ(AT(a, crt_mpsc_reserve(cx, tx)), CRT_ECLOSED);
        CHECK_EQ(AT(a, crt_mpsc_send(cx, tx, &v)), CRT_ECLOSED);
        CHECK_EQ(recv_int(rx), 5);                // what is there stays
        CHECK_EQ(recv_int(rx), CRT_EEMPTY);       // not over: somebody may still send
        CHECK_EQ(AT(s, crt_mpsc_recv(cx, rx, &v)), PENDING);
        v = 6;
        if (use) CHECK_EQ(crt_mpsc_send_reserved(tx, &v), 0);
        else crt_mpsc_unreserve(tx);
        // Both end the wait.
        v = 0;
        CHECK(s.state != CRT__SLOT_QUEUED);
        CHECK_EQ(AT(s, crt_mpsc_recv(cx, rx, &v)), use ? 0 : CRT_ECLOSED);
        if (use) {
            CHECK_EQ(v, 6);
            CHECK_EQ(AT(s, crt_mpsc_recv(cx, rx, &v)), CRT_ECLOSED);
        }
        crt__slot_cancel(&s);
        crt_mpsc_tx_drop(&tx);
        crt_mpsc_rx_drop(&rx);
    }
}
BODY(closing_fails_waiting_senders_but_not_the_granted)
{
    POLLS;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_slot s[3] = {{0}};
    int v[3] = {20, 21, 22}, x = 0;
    forget_drops();
    CHECK_EQ(crt_mpsc_new(sizeof(int), 1, &tx, &rx), 0);
    crt_mpsc_on_drop(rx, count_drop, &drops);
    CHECK_EQ(send_int(tx, 1), 0);
    for (int i = 0; i < 3; i++) CHECK_EQ(AT(s[i], crt_mpsc_send(cx, tx, &v[i])), PENDING);
    CHECK_EQ(recv_int(rx), 1);
    crt_mpsc_rx_close(rx);
    CHECK_EQ(recv_int(rx), CRT_EEMPTY);
    CHECK_EQ(CANCEL(s[2], crt_mpsc_send(cx, tx, &v[2])), UNWIND);
    CHECK_EQ(AT(s[1], crt_mpsc_send(cx, tx, &v[1])), CRT_ECLOSED);
    CHECK_EQ(AT(s[0], crt_mpsc_send(cx, tx, &v[0])), 0);
    CHECK_EQ(AT(s[0], crt_mpsc_recv(cx, rx, &x)), 0);
    CHECK_EQ(x, 20);
    CHECK_EQ(AT(s[0], crt_mpsc_recv(cx, rx, &x)), CRT_ECLOSED);
    CHECK_EQ(drops, 0);
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
    CHECK_EQ(drops, 0);
}
// The last permit holder is cancelled after its grant: the closed channel is over.
BODY(a_cancelled_grant_lets_a_closed_receiver_end)
{
    POLLS;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_slot a = {0}, s = {0};
    int v = 1;
    CHECK_EQ(crt_mpsc_new(sizeof(int), 1, &tx, &rx), 0);
    CHECK_EQ(send_int(tx, 1), 0);
    CHECK_EQ(AT(a, crt_mpsc_send(cx, tx, &v)), PENDING);
    CHECK_EQ(recv_int(rx), 1);
    crt_mpsc_rx_close(rx);
    CHECK_EQ(AT(s, crt_mpsc_recv(cx, rx, &v)), PENDING);
    CHECK_EQ(CANCEL(a, crt_mpsc_send(cx, tx, &v)), UNWIND);
    CHECK(s.state != CRT__SLOT_QUEUED);
    CHECK_EQ(AT(s, crt_mpsc_recv(cx, rx, &v)), CRT_ECLOSED);
    crt__slot_cancel(&s);
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
}
BODY(a_cancelled_recv_takes_nothing)
{
    POLLS;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_slot s = {0};
    int v = -1;
    CHECK_EQ(crt_mpsc_new(sizeof(int), 2, &tx, &rx), 0);
    CHECK_EQ(CANCEL(s, crt_mpsc_recv(cx, rx, &v)), UNWIND);   // before
    CHECK_EQ(AT(s, crt_mpsc_recv(cx, rx, &v)), PENDING);
    CHECK_EQ(CANCEL(s, crt_mpsc_recv(cx, rx, &v)), UNWIND);   // parked
    CHECK_EQ(AT(s, crt_mpsc_recv(cx, rx, &v)), PENDING);
    CHECK_EQ(send_int(tx, 4), 0);
    CHECK_EQ(CANCEL(s, crt_mpsc_recv(cx, rx, &v)), UNWIND);   // woken
    CHECK_EQ(v, -1);
    CHECK_EQ(crt_mpsc_len(rx), 1);
    CHECK_EQ(AT(s, crt_mpsc_recv(cx, rx, &v)), 0);
    CHECK_EQ(v, 4);
    CHECK_EQ(AT(s, crt_mpsc_recv_many(cx, rx, &v, 1)), PENDING);
    CHECK_EQ(send_int(tx, 5), 0);
    CHECK_EQ(CANCEL(s, crt_mpsc_recv_many(cx, rx, &v, 1)), UNWIND);
    CHECK_EQ(recv_int(rx), 5);
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
}
BODY(recv_many_takes_what_is_there)
{
    POLLS;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_slot s = {0}, a = {0}, b = {0};
    int v[64], x = 40, y = 41;
    CHECK_EQ(crt_mpsc_new(sizeof(int), 40, &tx, &rx), 0);
    CHECK_EQ(AT(s, crt_mpsc_recv_many(cx, rx, v, 64)), PENDING);
    for (int i = 0; i < 40; i++) CHECK_EQ(send_int(tx, i), 0);
    CHECK_EQ(AT(a, crt_mpsc_send(cx, tx, &x)), PENDING);
    CHECK_EQ(AT(b, crt_mpsc_send(cx, tx, &y)), PENDING);
    CHECK_EQ(AT(s, crt_mpsc_recv_many(cx, rx, v, 10)), 10);
    for (int i = 0; i < 10; i++) CHECK_EQ(v[i], i);
    CHECK_EQ(AT(a, crt_mpsc_send(cx, tx, &x)), 0);   // room for both
    CHECK_EQ(AT(b, crt_mpsc_send(cx, tx, &y)), 0);
    CHECK_EQ(crt_mpsc_len(rx), 32);
    CHECK_EQ(AT(s, crt_mpsc_recv_many(cx, rx, v, 64)), 32);
    for (int i = 0; i < 32; i++) CHECK_EQ(v[i], i + 10);
    CHECK_EQ(AT(s, crt_mpsc_recv_many(cx, rx, v, 0)), 0);
    crt_mpsc_tx_drop(&tx);
    CHECK_EQ(AT(s, crt_mpsc_recv_many(cx, rx, v, 64)), CRT_ECLOSED);
    crt_mpsc_rx_drop(&rx);
}
BODY(the_last_sender_to_go_closes)
{
    POLLS;
    crt_mpsc_tx *tx, *twin;
    crt_mpsc_rx *rx;
    crt_slot s = {0};
    int v = 0;
    CHECK_EQ(crt_mpsc_new(sizeof(int), 0, &tx, &rx), 0);
    twin = crt_mpsc_tx_clone(tx);
    CHECK_EQ(AT(s, crt_mpsc_recv(cx, rx, &v)), PENDING);
    crt_mpsc_tx_drop(&tx);
    CHECK_EQ(AT(s, crt_mpsc_recv(cx, rx, &v)), PENDING);
    CHECK_EQ(send_int(twin, 3), 0);
    crt_mpsc_tx_drop(&twin);
    CHECK_EQ(AT(s, crt_mpsc_recv(cx, rx, &v)), 0);   // drained first
    CHECK_EQ(v, 3);
    CHECK_EQ(AT(s, crt_mpsc_recv(cx, rx, &v)), CRT_ECLOSED);
    crt_mpsc_rx_drop(&rx);
}
// A receiver that is parked when the channel is closed (by whoever shares it) is
// told: otherwise it would wait for senders that may not send.
BODY(closing_wakes_a_parked_receiver)
{
    POLLS;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_slot s = {0};
    int v = 0;
    CHECK_EQ(crt_mpsc_new(sizeof(int), 2, &tx, &rx), 0);
    CHECK_EQ(AT(s, crt_mpsc_recv(cx, rx, &v)), PENDING);
    crt_mpsc_rx_close(rx);
    CHECK_EQ(AT(s, crt_mpsc_recv(cx, rx, &v)), CRT_ECLOSED);
    crt__slot_cancel(&s);
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
}
BODY(undelivered_elements_are_dropped_once)
{
    POLLS;
    for (int how = 0; how < 4; how++) {
        crt_mpsc_tx *tx;
        crt_mpsc_rx *rx;
        crt_slot a = {0}, q = {0};
        int v = 50, w = 51;
        forget_drops();
        CHECK_EQ(crt_mpsc_new(sizeof(int), 40, &tx, &rx), 0);
        crt_mpsc_on_drop(rx, count_drop, &drops);
        if (how == 2) CHECK_EQ(AT(a, crt_mpsc_reserve(cx, tx)), 0);
        for (int i = how == 2; i < 40; i++) CHECK_EQ(send_int(tx, i), 0);
        CHECK_EQ(AT(q, crt_mpsc_send(cx, tx, &w)), PENDING);
        if (how == 3) {
            CHECK_EQ(AT(a, crt_mpsc_send(cx, tx, &v)), PENDING);
            CHECK_EQ(recv_int(rx), 0);   // grants q
        } else {
            CHECK_EQ(CANCEL(q, crt_mpsc_send(cx, tx, &w)), UNWIND);
        }
        if (how == 1) {   // the sender goes first
            crt_mpsc_tx_drop(&tx);
            CHECK_EQ(drops, 0);
        }
        crt_mpsc_rx_drop(&rx);
        CHECK_EQ(drops, how < 2 ? 40 : 39);   // at once
        if (how == 2) {
            CHECK_EQ(crt_mpsc_send_reserved(tx, &v), 0);   // a permit taken before: accepted, and dropped
        } else if (how == 3) {
            CHECK_EQ(AT(a, crt_mpsc_send(cx, tx, &v)), CRT_ECLOSED);
            CHECK_EQ(AT(q, crt_mpsc_send(cx, tx, &w)), 0);
        }
        if (tx) CHECK_EQ(send_int(tx, 60), CRT_ECLOSED);
        crt_mpsc_tx_drop(&tx);
        for (int i = 1; i < 40; i++) CHECK_EQ(dropped[i], 1);
        CHECK_EQ(dropped[50], how == 2);
        CHECK_EQ(dropped[51], how == 3);
        CHECK_EQ(dropped[60], 0);
        CHECK_EQ(drops, 40);
    }
}
BODY(elements_without_bytes)
{
    POLLS;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_slot s = {0}, a = {0};
    char one[1] = {0};
    CHECK_EQ(crt_mpsc_new(0, 3, &tx, &rx), 0);
    for (int i = 0; i < 3; i++) CHECK_EQ(crt_mpsc_try_send(tx, one), 0);
    CHECK_EQ(crt_mpsc_try_send(tx, one), CRT_EFULL);
    CHECK_EQ(AT(a, crt_mpsc_send(cx, tx, one)), PENDING);
    CHECK_EQ(crt_mpsc_len(rx), 3);
    CHECK_EQ(AT(s, crt_mpsc_recv_many(cx, rx, one, 2)), 2);
    CHECK_EQ(AT(a, crt_mpsc_send(cx, tx, one)), 0);
    CHECK_EQ(AT(s, crt_mpsc_recv_many(cx, rx, one, 9)), 2);
    for (int i = 0; i < 200; i++) {
        CHECK_EQ(AT(a, crt_mpsc_send(cx, tx, one)), 0);
        CHECK_EQ(AT(s, crt_mpsc_recv(cx, rx, one)), 0);
    }
    crt_mpsc_tx_drop(&tx);
    CHECK_EQ(AT(s, crt_mpsc_recv(cx, rx, one)), CRT_ECLOSED);
    crt_mpsc_rx_drop(&rx);
}
// Nothing to copy needs no buffer: NULL is fine, and what was received that way was
// received, so on_drop does not hear of it.
static int bare_drops;
static void count_bare(void *elem, void *user)
{
    (void)elem;
    (void)user;
    bare_drops++;
}
BODY(elements_without_bytes_need_no_buffer)
{
    POLLS;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_slot s = {0};
    bare_drops = 0;
    CHECK_EQ(crt_mpsc_new(0, 8, &tx, &rx), 0);
    crt_mpsc_on_drop(rx, count_bare, NULL);
    for (int i = 0; i < 4; i++) CHECK_EQ(crt_mpsc_try_send(tx, NULL), 0);
    CHECK_EQ(AT(s, crt_mpsc_recv(cx, rx, NULL)), 0);
    CHECK_EQ(crt_mpsc_try_recv(rx, NULL), 0);
    CHECK_EQ(bare_drops, 0);
    crt_mpsc_rx_drop(&rx);
    CHECK_EQ(bare_drops, 2);
    crt_mpsc_tx_drop(&tx);

    crt_oneshot_tx *otx;
    crt_oneshot_rx *orx;
    CHECK_EQ(crt_oneshot_new(0, &otx, &orx), 0);
    CHECK_EQ(crt_oneshot_send(&otx, NULL), 0);
    CHECK_EQ(AT(s, crt_oneshot_recv(cx, &orx, NULL)), 0);

    crt_broadcast_tx *btx;
    crt_broadcast_rx *brx;
    CHECK_EQ(crt_broadcast_new(0, 2, &btx), 0);
    CHECK_EQ(crt_broadcast_subscribe(btx, &brx), 0);
    CHECK_EQ(crt_broadcast_send(btx, NULL), 1);
    CHECK_EQ(crt_broadcast_try_recv(brx, NULL, NULL), 0);
    crt_broadcast_rx_drop(&brx);
    crt_broadcast_tx_drop(&btx);

    crt_watch_tx *wtx;
    crt_watch_rx *wrx;
    CHECK_EQ(crt_watch_new(0, NULL, &wtx, &wrx), 0);
    CHECK_EQ(crt_watch_send_replace(wtx, NULL, NULL), 0);   // elements of no size
    CHECK_EQ(crt_watch_send(wtx, NULL), 0);
    CHECK_EQ(AT(s, crt_watch_changed(cx, wrx)), 0);
    crt_watch_get(wrx, NULL);
    crt_watch_rx_drop(&wrx);
    crt_watch_tx_drop(&wtx);
}
BODY(large_elements)
{
    POLLS;
    static const size_t sizes[] = {129, 1365, 2048, 2049, 4096, 4097, 100000, 1 << 20};
    unsigned char *in = malloc(1 << 20), *out = malloc(1 << 20);
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        crt_mpsc_tx *tx;
        crt_mpsc_rx *rx;
        crt_slot s = {0};
        CHECK_EQ(crt_mpsc_new(sizes[k], 5, &tx, &rx), 0);
        for (int round = 0; round < 4; round++) {
            for (int i = 0; i < 3; i++) {
                memset(in, round * 3 + i, sizes[k]);
                CHECK_EQ(AT(s, crt_mpsc_send(cx, tx, in)), 0);
            }
            for (int i = 0; i < 3; i++) {
                memset(out, 0xEE, sizes[k]);
                CHECK_EQ(AT(s, crt_mpsc_recv(cx, rx, out)), 0);
                CHECK(out[0] == round * 3 + i && out[sizes[k] - 1] == round * 3 + i);
            }
        }
        CHECK_EQ(crt_mpsc_try_send(tx, in), 0);   // left behind: freed with the channel
        crt_mpsc_rx_drop(&rx);
        crt_mpsc_tx_drop(&tx);
    }
    free(in);
    free(out);
}
// No operation runs without a budget, and none loses its place for it.
BODY(an_exhausted_budget_changes_nothing)
{
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_slot s = {0}, *held = cx->slot;
    int v = 3;
    CHECK_EQ(crt_mpsc_new(sizeof(int), 4, &tx, &rx), 0);
    cx->slot = &s;
    cx->budget = 0;
    CHECK_EQ(crt_mpsc_send(cx, tx, &v), PENDING);
    CHECK_EQ(crt_mpsc_len(rx), 0);
    CHECK_EQ(send_int(tx, 8), 0);   // try_ has no budget
    v = -1;
    CHECK_EQ(crt_mpsc_recv(cx, rx, &v), PENDING);
    CHECK_EQ(v, -1);
    CHECK_EQ(crt_mpsc_len(rx), 1);
    cx->budget = 128;
    CHECK_EQ(crt_mpsc_recv(cx, rx, &v), 0);
    CHECK_EQ(v, 8);
    cx->slot = held;
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
}

// --- oneshot

BODY(oneshot_gives_its_value_once)
{
    POLLS;
    for (int parked = 0; parked < 2; parked++) {
        crt_oneshot_tx *tx;
        crt_oneshot_rx *rx;
        crt_slot s = {0};
        int v = 8, out = 0;
        CHECK_EQ(crt_oneshot_new(sizeof(int), &tx, &rx), 0);
        if (parked) CHECK_EQ(AT(s, crt_oneshot_recv(cx, &rx, &out)), PENDING);
        CHECK_EQ(crt_oneshot_send(&tx, &v), 0);
        CHECK(tx == NULL);
        CHECK_EQ(AT(s, crt_oneshot_recv(cx, &rx, &out)), 0);
        CHECK_EQ(out, 8);
        CHECK(rx == NULL);
        CHECK_EQ(crt_oneshot_send(&tx, &v), CRT_EINVAL);
        CHECK_EQ(AT(s, crt_oneshot_recv(cx, &rx, &out)), CRT_EINVAL);
        crt_oneshot_tx_drop(&tx);
        crt_oneshot_rx_drop(&rx);
    }
}
BODY(oneshot_tells_when_the_other_side_is_gone)
{
    POLLS;
    crt_oneshot_tx *tx;
    crt_oneshot_rx *rx;
    crt_slot s = {0};
    int v = 8;
    CHECK_EQ(crt_oneshot_new(sizeof(int), &tx, &rx), 0);
    crt_oneshot_rx_drop(&rx);
    CHECK_EQ(crt_oneshot_send(&tx, &v), CRT_ECLOSED);
    for (int parked = 0; parked < 2; parked++) {
        CHECK_EQ(crt_oneshot_new(sizeof(int), &tx, &rx), 0);
        if (parked) CHECK_EQ(AT(s, crt_oneshot_recv(cx, &rx, &v)), PENDING);
        crt_oneshot_tx_drop(&tx);
        CHECK_EQ(AT(s, crt_oneshot_recv(cx, &rx, &v)), CRT_ECLOSED);
        CHECK(rx == NULL);
    }
}
BODY(a_cancelled_oneshot_recv_keeps_the_value)
{
    POLLS;
    for (int when = 0; when < 3; when++) {
        crt_oneshot_tx *tx;
        crt_oneshot_rx *rx;
        crt_slot s = {0};
        int v = 8, out = -1;
        CHECK_EQ(crt_oneshot_new(sizeof(int), &tx, &rx), 0);
        if (when > 0) CHECK_EQ(AT(s, crt_oneshot_recv(cx, &rx, &out)), PENDING);
        if (when == 2) CHECK_EQ(crt_oneshot_send(&tx, &v), 0);
        CHECK_EQ(CANCEL(s, crt_oneshot_recv(cx, &rx, &out)), UNWIND);
        CHECK(rx != NULL);
        CHECK_EQ(out, -1);
        if (when < 2) CHECK_EQ(crt_oneshot_send(&tx, &v), 0);
        CHECK_EQ(AT(s, crt_oneshot_recv(cx, &rx, &out)), 0);
        CHECK_EQ(out, 8);
    }
}

// --- broadcast

static int cast(crt_broadcast_tx *tx, int v) { return crt_broadcast_send(tx, &v); }
static int catch_(crt_broadcast_rx *rx)
{
    int v = -1, r = crt_broadcast_try_recv(rx, &v, NULL);
    return r ? r : v;
}
BODY(every_receiver_sees_every_value)
{
    POLLS;
    crt_broadcast_tx *tx;
    crt_broadcast_rx *a, *b, *late;
    crt_slot s = {0}, t = {0};
    int v = -1, w = -1;
    CHECK_EQ(crt_broadcast_new(sizeof(int), 4, &tx), 0);
    CHECK_EQ(cast(tx, 1), CRT_ECLOSED);   // nobody there
    CHECK_EQ(crt_broadcast_subscribe(tx, &a), 0);
    CHECK_EQ(crt_broadcast_subscribe(tx, &b), 0);
    CHECK_EQ(catch_(a), CRT_EEMPTY);
    CHECK_EQ(AT(s, crt_broadcast_recv(cx, a, &v, NULL)), PENDING);
    CHECK_EQ(AT(t, crt_broadcast_recv(cx, b, &w, NULL)), PENDING);
    CHECK_EQ(cast(tx, 2), 2);
    CHECK_EQ(cast(tx, 3), 2);
    CHECK_EQ(crt_broadcast_subscribe(tx, &late), 0);
    CHECK_EQ(cast(tx, 4), 3);
    CHECK_EQ(AT(s, crt_broadcast_recv(cx, a, &v, NULL)), 0);
    CHECK_EQ(v, 2);
    CHECK_EQ(AT(t, crt_broadcast_recv(cx, b, &w, NULL)), 0);
    CHECK_EQ(w, 2);
    CHECK_EQ(catch_(a), 3);
    CHECK_EQ(catch_(a), 4);
    CHECK_EQ(catch_(a), CRT_EEMPTY);
    CHECK_EQ(catch_(late), 4);   // later values only
    CHECK_EQ(catch_(b), 3);
    crt_broadcast_rx_drop(&b);
    CHECK_EQ(cast(tx, 5), 2);
    crt_broadcast_rx_drop(&a);
    crt_broadcast_rx_drop(&late);
    CHECK_EQ(cast(tx, 6), CRT_ECLOSED);
    CHECK_EQ(crt_broadcast_subscribe(tx, &a), 0);   // it opens again
    CHECK_EQ(cast(tx, 7), 1);
    CHECK_EQ(catch_(a), 7);
    crt_broadcast_tx_drop(&tx);
    crt_broadcast_rx_drop(&a);
    crt_broadcast_rx_drop(&a);
    crt_broadcast_tx_drop(&tx);
}
BODY(who_lags_is_told_exactly_how_much)
{
    POLLS;
    for (size_t capacity = 1; capacity <= 5; capacity++) {
        int real = capacity == 3 ? 4 : capacity == 5 ? 8 : (int)capacity;   // a power of two
        for (int ahead = 0; ahead < 20; ahead++) {
            crt_broadcast_tx *tx;
            crt_broadcast_rx *rx;
            crt_slot s = {0};
            uint64_t lagged = 99;
            int v = -1, lost = ahead > real ? ahead - real : 0;
            CHECK_EQ(crt_broadcast_new(sizeof(int), capacity, &tx), 0);
            CHECK_EQ(crt_broadcast_subscribe(tx, &rx), 0);
            for (int i = 0; i < ahead; i++) CHECK_EQ(cast(tx, i), 1);
            if (ahead == 19) crt_broadcast_tx_drop(&tx);   // what is kept is still seen
            if (lost) {
                CHECK_EQ(AT(s, crt_broadcast_recv(cx, rx, &v, &lagged)), CRT_ELAGGED);
                CHECK_EQ(lagged, lost);
                CHECK_EQ(v, -1);
            }
            for (int i = lost; i < ahead; i++) {
                CHECK_EQ(AT(s, crt_broadcast_recv(cx, rx, &v, &lagged)), 0);
                CHECK_EQ(v, i);
            }
            CHECK_EQ(catch_(rx), tx ? CRT_EEMPTY : CRT_ECLOSED);
            crt_broadcast_tx_drop(&tx);
            crt_broadcast_rx_drop(&rx);
        }
    }
}
BODY(broadcast_closes_with_the_last_sender)
{
    POLLS;
    crt_broadcast_tx *tx, *twin;
    crt_broadcast_rx *rx, *other;
    crt_slot s = {0}, t = {0};
    int v = -1;
    CHECK_EQ(crt_broadcast_new(sizeof(int), 4, &tx), 0);
    twin = crt_broadcast_tx_clone(tx);
    CHECK_EQ(crt_broadcast_subscribe(tx, &rx), 0);
    CHECK_EQ(crt_broadcast_subscribe(tx, &other), 0);
    CHECK_EQ(AT(s, crt_broadcast_recv(cx, rx, &v, NULL)), PENDING);
    CHECK_EQ(AT(t, crt_broadcast_recv(cx, other, &v, NULL)), PENDING);
    crt_broadcast_tx_drop(&tx);
    CHECK_EQ(AT(s, crt_broadcast_recv(cx, rx, &v, NULL)), PENDING);
    CHECK_EQ(cast(twin, 1), 2);
    CHECK_EQ(CANCEL(t, crt_broadcast_recv(cx, other, &v, NULL)), UNWIND);   // woken, cancelled: kept
    crt_broadcast_tx_drop(&twin);
    CHECK_EQ(AT(s, crt_broadcast_recv(cx, rx, &v, NULL)), 0);
    CHECK_EQ(AT(s, crt_broadcast_recv(cx, rx, &v, NULL)), CRT_ECLOSED);
    CHECK_EQ(AT(t, crt_broadcast_recv(cx, other, &v, NULL)), 0);
    CHECK_EQ(AT(t, crt_broadcast_recv(cx, other, &v, NULL)), CRT_ECLOSED);
    crt_broadcast_rx_drop(&rx);
    crt_broadcast_rx_drop(&other);
}

// --- watch

BODY(watch_tells_of_changes_not_of_values)
{
    POLLS;
    crt_watch_tx *tx;
    crt_watch_rx *rx, *late;
    crt_slot s = {0}, t = {0};
    int v = 1;
    CHECK_EQ(crt_watch_new(sizeof(int), &v, &tx, &rx), 0);
    CHECK(!crt_watch_has_changed(rx));   // the first value counts as seen
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), PENDING);
    for (v = 2; v < 5; v++) CHECK_EQ(crt_watch_send(tx, &v), 0);
    CHECK_EQ(crt_watch_subscribe(tx, &late), 0);
    CHECK(!crt_watch_has_changed(late));
    CHECK(crt_watch_has_changed(rx));
    crt_watch_get(rx, &v);
    CHECK_EQ(v, 4);
    CHECK(crt_watch_has_changed(rx));   // get does not mark it
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), 0);
    CHECK(!crt_watch_has_changed(rx));
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), PENDING);   // three sends, one change
    CHECK_EQ(AT(t, crt_watch_changed(cx, late)), PENDING);
    CHECK_EQ(crt_watch_send(tx, &v), 0);   // the same value is a change too
    CHECK_EQ(CANCEL(s, crt_watch_changed(cx, rx)), UNWIND);
    CHECK(crt_watch_has_changed(rx));      // woken and cancelled: not seen
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), 0);
    CHECK_EQ(AT(t, crt_watch_changed(cx, late)), 0);
    v = 9;
    CHECK_EQ(crt_watch_send(tx, &v), 0);
    CHECK_EQ(AT(t, crt_watch_changed(cx, late)), 0);
    CHECK_EQ(AT(t, crt_watch_changed(cx, late)), PENDING);
    crt_watch_tx_drop(&tx);
    CHECK_EQ(AT(t, crt_watch_changed(cx, late)), CRT_ECLOSED);
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), 0);   // the last value first
    CHECK_EQ(AT(s, crt_watch_changed(cx, rx)), CRT_ECLOSED);
    v = 0;
    crt_watch_get(rx, &v);
    CHECK_EQ(v, 9);
    crt_watch_rx_drop(&rx);
    crt_watch_rx_drop(&late);
}
BODY(watch_without_receivers)
{
    crt_watch_tx *tx;
    crt_watch_rx *rx;
    int v = 1;
    (void)cx;
    CHECK_EQ(crt_watch_new(sizeof(int), &v, &tx, &rx), 0);
    crt_watch_rx_drop(&rx);
    v = 2;
    CHECK_EQ(crt_watch_send(tx, &v), CRT_ECLOSED);
    CHECK_EQ(crt_watch_subscribe(tx, &rx), 0);
    v = 3;
    CHECK_EQ(crt_watch_send(tx, &v), 0);
    crt_watch_get(rx, &v);
    CHECK_EQ(v, 3);
    crt_watch_tx_drop(&tx);
    crt_watch_rx_drop(&rx);
    crt_watch_tx_drop(&tx);
    crt_watch_rx_drop(&rx);
}
BODY(blocking_calls_are_refused_inside_a_task)
{
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    int v = 1;
    (void)cx;
    CHECK_EQ(crt_mpsc_new(sizeof(int), 1, &tx, &rx), 0);
    CHECK_EQ(crt_mpsc_blocking_send(tx, &v), CRT_ENESTED);
    CHECK_EQ(crt_mpsc_len(rx), 0);
    CHECK_EQ(crt_mpsc_blocking_recv(rx, &v), CRT_ENESTED);
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
}

// --- with tasks and threads

enum { SENDERS = 4, EACH = 300 };
typedef struct item {
    int from, number;
} item;

// Sends and gives up again and again: only what was reported as sent may arrive.
typedef struct sender {
    crt_frame co;
    crt_mpsc_tx *tx;
    item it;
    bool reserve;
    crt_poll r, w;
    CRT_SELECT(2) sel;
} sender;
static crt_poll sender_run(void *frame, crt_cx *cx)
{
    sender *self = frame;
    CRT_BEGIN(self, cx);
    while (self->it.number < EACH) {
        CRT_AWAIT(self->w = crt_select(cx, &self->sel,
            crt_on(cx, 0, self->r = self->reserve ? crt_mpsc_reserve(cx, self->tx) : crt_mpsc_send(cx, self->tx, &self->it)),
            crt_on(cx, 1, crt_yield_now(cx))));
        if (self->w == 1) continue;
        CHECK_EQ(self->r, 0);
        if (self->reserve && self->it.number % 5 == 4) {   // now and then a permit is given back first
            crt_mpsc_unreserve(self->tx);
            CRT_AWAIT(self->r = crt_mpsc_reserve(cx, self->tx));
            CHECK_EQ(self->r, 0);
        }
        if (self->reserve) CHECK_EQ(crt_mpsc_send_reserved(self->tx, &self->it), 0);
        self->it.number++;
    }
    CRT_FINALLY
        crt_mpsc_tx_drop(&self->tx);
    CRT_END;
}
typedef struct crowd {
    crt_frame co;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    size_t capacity;
    int i, next[SENDERS];
    item it[3];
    crt_poll r, w;
    CRT_SELECT(2) sel;
    crt_join_handle *join[SENDERS];
} crowd;
static crt_poll crowd_run(void *frame, crt_cx *cx)
{
    crowd *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_mpsc_new(sizeof(item), self->capacity, &self->tx, &self->rx), 0);
    for (self->i = 0; self->i < SENDERS; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], sender_run,
            (&(sender){.tx = crt_mpsc_tx_clone(self->tx), .it = {self->i, 0}, .reserve = self->i & 1})), 0);
    crt_mpsc_tx_drop(&self->tx);
    for (;;) {
        CRT_AWAIT(self->w = crt_select(cx, &self->sel,
            crt_on(cx, 0, self->r = crt_mpsc_recv_many(cx, self->rx, self->it, 3)),
            crt_on(cx, 1, crt_yield_now(cx))));
        if (self->w == 1) continue;
        if (self->r < 0) break;
        for (int i = 0; i < self->r; i++) {
            CHECK_EQ(self->it[i].number, self->next[self->it[i].from]);
            self->next[self->it[i].from] = self->it[i].number + 1;
        }
        CHECK(crt_mpsc_len(self->rx) <= self->capacity || !self->capacity);
    }
    CHECK_EQ(self->r, CRT_ECLOSED);
    for (self->i = 0; self->i < SENDERS; self->i++) {
        CHECK_EQ(self->next[self->i], EACH);
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        CHECK_EQ(self->r, 0);
    }
    CRT_FINALLY
        crt_mpsc_rx_drop(&self->rx);
    CRT_END;
}
static void cancelled_sends_and_receives_lose_and_double_nothing(crt_runtime *rt)
{
    for (size_t capacity = 0; capacity < 4; capacity++) {
        crowd c = {.capacity = capacity};
        CHECK_EQ(crt_block_on(rt, crowd_run, &c), 0);
    }
}

// Aborted tasks: what was received and what on_drop saw is what was reported as sent,
// and no permit is lost with a task: the others still get through.
static int sent_count;   // atomic
typedef struct one_shot_sender {
    crt_frame co;
    crt_mpsc_tx *tx;
    int v;
    crt_poll r;
} one_shot_sender;
static crt_poll one_shot_sender_run(void *frame, crt_cx *cx)
{
    one_shot_sender *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_mpsc_send(cx, self->tx, &self->v));
    if (self->r == 0) __atomic_fetch_add(&sent_count, 1, __ATOMIC_SEQ_CST);
    CRT_FINALLY
        crt_mpsc_tx_drop(&self->tx);
    CRT_END;
}
typedef struct abort_storm {
    crt_frame co;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    int i, received, v;
    crt_poll r;
    crt_join_handle *join[30];
} abort_storm;
static crt_poll abort_storm_run(void *frame, crt_cx *cx)
{
    abort_storm *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_mpsc_new(sizeof(int), 2, &self->tx, &self->rx), 0);
    crt_mpsc_on_drop(self->rx, count_drop, &drops);
    for (self->i = 0; self->i < 30; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], one_shot_sender_run,
            (&(one_shot_sender){.tx = crt_mpsc_tx_clone(self->tx), .v = self->i})), 0);
    CRT_YIELD();
    for (self->i = 0; self->i < 30; self->i++) {   // grants and aborts cross
        if (crt_mpsc_try_recv(self->rx, &self->v) == 0) self->received++;
        if (self->i % 3 != 1) crt_abort(self->join[self->i]);
        if (self->i % 4 == 3) CRT_YIELD();
    }
    // Ten were never aborted, so eight at least arrive; the channel goes with some inside
    // and some still waiting for room.
    while (self->received < 8) {
        CRT_AWAIT(self->r = crt_mpsc_recv(cx, self->rx, &self->v));
        CHECK_EQ(self->r, 0);
        self->received++;
    }
    crt_mpsc_rx_drop(&self->rx);
    crt_mpsc_tx_drop(&self->tx);
    for (self->i = 0; self->i < 30; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        CHECK(self->r == 0 || (self->r == CRT_ECANCELED && self->i % 3 != 1));
    }
    CHECK_EQ(self->received + drops, sent_count);
    CRT_FINALLY
        crt_mpsc_tx_drop(&self->tx);
        crt_mpsc_rx_drop(&self->rx);
    CRT_END;
}
static void aborted_senders_leave_no_hole(crt_runtime *rt)
{
    for (int round = 0; round < 20; round++) {
        abort_storm a = {0};
        forget_drops();
        sent_count = 0;
        CHECK_EQ(crt_block_on(rt, abort_storm_run, &a), 0);
    }
}

// Plain threads on one side, tasks on the other.
typedef struct thread_side {
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    int from, next[SENDERS];
    pthread_t id;
} thread_side;
static void *thread_sends(void *arg)
{
    thread_side *t = arg;
    for (int i = 0; i < EACH; i++) CHECK_EQ(crt_mpsc_blocking_send(t->tx, &(item){t->from, i}), 0);
    crt_mpsc_tx_drop(&t->tx);
    return NULL;
}
static void *thread_receives(void *arg)
{
    thread_side *t = arg;
    item it;
    int r;
    while ((r = crt_mpsc_blocking_recv(t->rx, &it)) == 0) {
        CHECK_EQ(it.number, t->next[it.from]);
        t->next[it.from] = it.number + 1;
    }
    CHECK_EQ(r, CRT_ECLOSED);
    crt_mpsc_rx_drop(&t->rx);
    return NULL;
}
typedef struct task_side {
    crt_frame co;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    item it;
    int next[SENDERS];
    crt_poll r;
} task_side;
static crt_poll task_receives_run(void *frame, crt_cx *cx)
{
    task_side *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = crt_mpsc_recv(cx, self->rx, &self->it));
        if (self->r) break;
        CHECK_EQ(self->it.number, self->next[self->it.from]);
        self->next[self->it.from]++;
    }
    CRT_RETURN(self->r);
    CRT_END;
}
static crt_poll task_sends_run(void *frame, crt_cx *cx)
{
    task_side *self = frame;
    CRT_BEGIN(self, cx);
    for (; self->it.number < EACH; self->it.number++) {
        CRT_AWAIT(self->r = crt_mpsc_send(cx, self->tx, &self->it));
        CHECK_EQ(self->r, 0);
    }
    crt_mpsc_tx_drop(&self->tx);
    CRT_END;
}
static void plain_threads_send_to_a_task(crt_runtime *rt)
{
    task_side task = {0};
    thread_side side[SENDERS] = {{0}};
    CHECK_EQ(crt_mpsc_new(sizeof(item), 2, &task.tx, &task.rx), 0);
    for (int i = 0; i < SENDERS; i++) {
        side[i].tx = crt_mpsc_tx_clone(task.tx);
        side[i].from = i;
        CHECK_EQ(pthread_create(&side[i].id, NULL, thread_sends, &side[i]), 0);
    }
    crt_mpsc_tx_drop(&task.tx);
    CHECK_EQ(crt_block_on(rt, task_receives_run, &task), CRT_ECLOSED);
    for (int i = 0; i < SENDERS; i++) {
        pthread_join(side[i].id, NULL);
        CHECK_EQ(task.next[i], EACH);
    }
    crt_mpsc_rx_drop(&task.rx);
}
static void a_task_sends_to_a_plain_thread(crt_runtime *rt)
{
    task_side task = {0};
    thread_side side = {0};
    CHECK_EQ(crt_mpsc_new(sizeof(item), 2, &task.tx, &side.rx), 0);
    CHECK_EQ(pthread_create(&side.id, NULL, thread_receives, &side), 0);
    CHECK_EQ(crt_block_on(rt, task_sends_run, &task), 0);
    pthread_join(side.id, NULL);
    CHECK_EQ(side.next[0], EACH);
}
// No runtime at all, and the far side closes under a thread that is blocked.
static void *thread_sends_until_closed(void *arg)
{
    thread_side *t = arg;
    int r, n = 0;
    while ((r = crt_mpsc_blocking_send(t->tx, &(item){0, n})) == 0) n++;
    CHECK_EQ(r, CRT_ECLOSED);
    t->next[0] = n;
    return NULL;
}
static void plain_threads_alone(void)
{
    thread_side a = {0}, b = {0};
    CHECK_EQ(crt_mpsc_new(sizeof(item), 1, &a.tx, &b.rx), 0);
    CHECK_EQ(pthread_create(&b.id, NULL, thread_receives, &b), 0);
    thread_sends(&a);
    pthread_join(b.id, NULL);
    CHECK_EQ(b.next[0], EACH);

    item it;
    crt_mpsc_rx *rx;
    memset(&a, 0, sizeof a);
    CHECK_EQ(crt_mpsc_new(sizeof(item), 2, &a.tx, &rx), 0);
    CHECK_EQ(pthread_create(&a.id, NULL, thread_sends_until_closed, &a), 0);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(crt_mpsc_blocking_recv(rx, &it), 0);
        CHECK_EQ(it.number, i);
    }
    crt_mpsc_rx_close(rx);
    int left = 0;
    while (crt_mpsc_blocking_recv(rx, &it) == 0) CHECK_EQ(it.number, 5 + left++);
    pthread_join(a.id, NULL);
    CHECK_EQ(a.next[0], 5 + left);   // what was reported as sent has arrived
    crt_mpsc_tx_drop(&a.tx);
    crt_mpsc_rx_drop(&rx);
}

// oneshot: send, drop and cancel against each other from another task.
typedef struct answer {
    crt_frame co;
    crt_oneshot_tx *tx;
    int v;
} answer;
static crt_poll answer_run(void *frame, crt_cx *cx)
{
    answer *self = frame;
    CRT_BEGIN(self, cx);
    if (self->v % 3 == 1) CRT_YIELD();
    if (self->v % 5 == 4) crt_oneshot_tx_drop(&self->tx);
    else (void)crt_oneshot_send(&self->tx, &self->v);
    CRT_FINALLY
        crt_oneshot_tx_drop(&self->tx);
    CRT_END;
}
typedef struct asker {
    crt_frame co;
    crt_oneshot_tx *tx;
    crt_oneshot_rx *rx;
    int i, out;
    crt_poll r, w;
    CRT_SELECT(2) sel;
} asker;
static crt_poll asker_run(void *frame, crt_cx *cx)
{
    asker *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 500; self->i++) {
        CHECK_EQ(crt_oneshot_new(sizeof(int), &self->tx, &self->rx), 0);
        CHECK_EQ(crt_spawn(cx, answer_run, (&(answer){.tx = self->tx, .v = self->i})), 0);
        if (self->i % 7 == 6) {   // nobody waits for it
            crt_oneshot_rx_drop(&self->rx);
            continue;
        }
        do {
            CRT_AWAIT(self->w = crt_select(cx, &self->sel,
                crt_on(cx, 0, self->r = crt_oneshot_recv(cx, &self->rx, &self->out)),
                crt_on(cx, 1, crt_yield_now(cx))));
        } while (self->w);
        CHECK_EQ(self->r, self->i % 5 == 4 ? CRT_ECLOSED : 0);
        if (self->r == 0) CHECK_EQ(self->out, self->i);
    }
    CRT_END;
}
static void oneshot_between_tasks(crt_runtime *rt)
{
    asker a = {0};
    CHECK_EQ(crt_block_on(rt, asker_run, &a), 0);
}

// broadcast and watch under concurrency: received plus lagged is all that was sent;
// the watcher ends with the last value.
typedef struct listener_task {
    crt_frame co;
    crt_broadcast_rx *rx;
    crt_watch_rx *watch;
    uint64_t lagged, total;
    int v, last;
    crt_poll r, w;
    CRT_SELECT(2) sel;
} listener_task;
static crt_poll listener_run(void *frame, crt_cx *cx)
{
    listener_task *self = frame;
    CRT_BEGIN(self, cx);
    self->last = -1;
    for (;;) {
        CRT_AWAIT(self->w = crt_select(cx, &self->sel,
            crt_on(cx, 0, self->r = crt_broadcast_recv(cx, self->rx, &self->v, &self->lagged)),
            crt_on(cx, 1, crt_yield_now(cx))));
        if (self->w) continue;
        if (self->r == CRT_ECLOSED) break;
        if (self->r == CRT_ELAGGED) {
            self->total += self->lagged;
            self->last += (int)self->lagged;
            continue;
        }
        CHECK_EQ(self->r, 0);
        CHECK_EQ(self->v, self->last + 1);
        self->last = self->v;
        self->total++;
    }
    CHECK_EQ(self->total, EACH);
    CRT_FINALLY
        crt_broadcast_rx_drop(&self->rx);
    CRT_END;
}
static crt_poll watcher_run(void *frame, crt_cx *cx)
{
    listener_task *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->w = crt_select(cx, &self->sel,
            crt_on(cx, 0, self->r = crt_watch_changed(cx, self->watch)),
            crt_on(cx, 1, crt_yield_now(cx))));
        if (self->w) continue;
        if (self->r) break;
        crt_watch_get(self->watch, &self->v);
        CHECK(self->v >= self->last);   // get may run ahead of changed
        self->last = self->v;
    }
    CHECK_EQ(self->r, CRT_ECLOSED);
    CHECK_EQ(self->last, EACH - 1);
    CRT_FINALLY
        crt_watch_rx_drop(&self->watch);
    CRT_END;
}
typedef struct announcer {
    crt_frame co;
    crt_broadcast_tx *tx;
    crt_watch_tx *watch;
    crt_broadcast_rx *rx;
    crt_watch_rx *wrx;
    crt_join_handle *join[4];
    int i;
    crt_poll r;
} announcer;
static crt_poll announcer_run(void *frame, crt_cx *cx)
{
    announcer *self = frame;
    CRT_BEGIN(self, cx);
    self->i = -1;
    CHECK_EQ(crt_broadcast_new(sizeof(int), 8, &self->tx), 0);
    CHECK_EQ(crt_watch_new(sizeof(int), &self->i, &self->watch, &self->wrx), 0);
    for (self->i = 0; self->i < 4; self->i++) {
        if (self->i < 2) {
            CHECK_EQ(crt_broadcast_subscribe(self->tx, &self->rx), 0);
            CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], listener_run, (&(listener_task){.rx = self->rx})), 0);
        } else {
            if (self->i == 3) CHECK_EQ(crt_watch_subscribe(self->watch, &self->wrx), 0);
            CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], watcher_run, (&(listener_task){.watch = self->wrx})), 0);
        }
    }
    for (self->i = 0; self->i < EACH; self->i++) {
        CHECK_EQ(crt_broadcast_send(self->tx, &self->i), 2);
        CHECK_EQ(crt_watch_send(self->watch, &self->i), 0);
        if (self->i % 4 == 0) CRT_YIELD();
    }
    crt_broadcast_tx_drop(&self->tx);
    crt_watch_tx_drop(&self->watch);
    for (self->i = 0; self->i < 4; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        CHECK_EQ(self->r, 0);
    }
    CRT_END;
}
static void broadcast_and_watch_between_tasks(crt_runtime *rt)
{
    announcer a = {0};
    CHECK_EQ(crt_block_on(rt, announcer_run, &a), 0);
}

// Questions from either side, and handles that are NULL.
static void questions(void)
{
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_broadcast_tx *btx;
    crt_watch_tx *wtx;
    crt_watch_rx *wrx;
    int x = 1;
    CHECK(crt_mpsc_new(sizeof x, 1, &tx, &rx) == 0 && crt_mpsc_try_send(tx, &x) == 0);
    CHECK(!crt_mpsc_rx_is_closed(rx));
    crt_mpsc_tx_drop(&tx);
    CHECK(crt_mpsc_rx_is_closed(rx) && crt_mpsc_try_recv(rx, &x) == 0);
    crt_mpsc_rx_drop(&rx);
    CHECK(crt_mpsc_new(sizeof x, 1, &tx, &rx) == 0);
    crt_mpsc_rx_close(rx);
    CHECK(crt_mpsc_rx_is_closed(rx) && crt_mpsc_is_closed(tx));
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
    CHECK(crt_broadcast_new(sizeof x, 1, &btx) == 0 && crt_broadcast_sender_count(btx) == 1);
    crt_broadcast_tx *other = crt_broadcast_tx_clone(btx);
    CHECK_EQ(crt_broadcast_sender_count(btx), 2);
    crt_broadcast_tx_drop(&other);
    CHECK_EQ(crt_broadcast_sender_count(btx), 1);
    crt_broadcast_tx_drop(&btx);
    CHECK(crt_watch_new(sizeof x, &x, &wtx, &wrx) == 0 && crt_watch_sender_count(wtx) == 1);
    crt_watch_tx_drop(&wtx);
    crt_watch_rx_drop(&wrx);
    CHECK_EQ(crt_mpsc_try_send(NULL, &x), CRT_EINVAL);
    CHECK_EQ(crt_mpsc_try_reserve(NULL), CRT_EINVAL);
    CHECK_EQ(crt_mpsc_send_reserved(NULL, &x), CRT_EINVAL);
    CHECK_EQ(crt_mpsc_try_recv(NULL, &x), CRT_EINVAL);
    CHECK_EQ(crt_broadcast_send(NULL, &x), CRT_EINVAL);
    CHECK_EQ(crt_broadcast_try_recv(NULL, &x, NULL), CRT_EINVAL);
    CHECK_EQ(crt_watch_send(NULL, &x), CRT_EINVAL);
    crt_mpsc_unreserve(NULL);
    crt_mpsc_rx_close(NULL);
    crt_oneshot_rx_close(NULL);
    crt_cancel_token_cancel(NULL);
    CHECK(!crt_cancel_token_is_cancelled(NULL));
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST_ON_EACH(elements_come_out_in_order);
    TEST(bad_sizes);
    TEST(questions);
    TEST_ON_EACH(waiting_senders_are_served_in_order_of_arrival);
    TEST_ON_EACH(a_cancelled_send_is_not_sent_and_passes_its_room_on);
    TEST_ON_EACH(permits_count_and_come_back);
    TEST_ON_EACH(a_permit_outlives_the_close);
    TEST_ON_EACH(closing_fails_waiting_senders_but_not_the_granted);
    TEST_ON_EACH(a_cancelled_grant_lets_a_closed_receiver_end);
    TEST_ON_EACH(a_cancelled_recv_takes_nothing);
    TEST_ON_EACH(recv_many_takes_what_is_there);
    TEST_ON_EACH(the_last_sender_to_go_closes);
    TEST_ON_EACH(closing_wakes_a_parked_receiver);
    TEST_ON_EACH(undelivered_elements_are_dropped_once);
    TEST_ON_EACH(elements_without_bytes);
    TEST_ON_EACH(elements_without_bytes_need_no_buffer);
    TEST_ON_EACH(large_elements);
    TEST_ON_EACH(an_exhausted_budget_changes_nothing);
    TEST_ON_EACH(oneshot_gives_its_value_once);
    TEST_ON_EACH(oneshot_tells_when_the_other_side_is_gone);
    TEST_ON_EACH(a_cancelled_oneshot_recv_keeps_the_value);
    TEST_ON_EACH(every_receiver_sees_every_value);
    TEST_ON_EACH(who_lags_is_told_exactly_how_much);
    TEST_ON_EACH(broadcast_closes_with_the_last_sender);
    TEST_ON_EACH(watch_tells_of_changes_not_of_values);
    TEST_ON_EACH(watch_without_receivers);
    TEST_ON_EACH(blocking_calls_are_refused_inside_a_task);
    TEST_ON_EACH(cancelled_sends_and_receives_lose_and_double_nothing);
    TEST_ON_EACH(aborted_senders_leave_no_hole);
    TEST_ON_EACH(plain_threads_send_to_a_task);
    TEST_ON_EACH(a_task_sends_to_a_plain_thread);
    TEST(plain_threads_alone);
    TEST_ON_EACH(oneshot_between_tasks);
    TEST_ON_EACH(broadcast_and_watch_between_tasks);
    return test_end();
}
