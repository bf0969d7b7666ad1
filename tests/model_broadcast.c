// model_broadcast.c - broadcast and watch: one value for many.
//
// Promise: every receiver sees every value, or hears how many it lost; a version is never
// missed; each value is released exactly once; who waits hears of the other side's end.
#include "model_platform.h"

static model_hand *hand[3];
static int data;             // plain: written before a send, read after its receipt
static int got[2];           // per receiver
static int result[2];        // of a send
static uint32_t dropped;     // atomic: calls of the drop callback
static crt_broadcast_tx *btx, *btx2;
static crt_broadcast_rx *brx[3];
static crt_broadcast_weak_tx *bweak;
static crt_watch_tx *wtx, *wtx2;
static crt_watch_rx *wrx[2];
static crt_join_handle *first;

static void hands_new(void)
{
    model_runtime(1);
    for (int i = 0; i < 3; i++) hand[i] = model_hand_new();
    EX_WRITE(data) = 0;
    dropped = 0;
    result[0] = result[1] = -1;
    got[0] = got[1] = 0;
    first = NULL;
}
static void hand_done(int i)
{
    model_hand_free(hand[i]);
    hand[i] = NULL;
}
static void hands_free(void)
{
    for (int i = 0; i < 3; i++)
        if (hand[i]) hand_done(i);
}
static void count_drop(void *elem, void *user)
{
    (void)elem, (void)user;
    crt__atomic_add(&dropped, 1, ACQ_REL);
}
static const crt_elem_ops counted = {NULL, count_drop, NULL};

// --- broadcast

static void broadcast_setup(int receivers)
{
    hands_new();
    EX_ASSERT(crt_broadcast_new(sizeof(int), 2, &btx) == 0);
    crt_broadcast_set_ops(btx, &counted);
    btx2 = NULL;
    bweak = NULL;
    for (int i = 0; i < 3; i++) {
        brx[i] = NULL;
        if (i < receivers) EX_ASSERT(crt_broadcast_subscribe(btx, &brx[i]) == 0);
    }
}
// Everything goes; each value that was sent has been released once.
static void broadcast_end(uint32_t values)
{
    for (int i = 0; i < 3; i++) crt_broadcast_rx_drop(&brx[i]);
    crt_broadcast_tx_drop(&btx);
    crt_broadcast_tx_drop(&btx2);
    crt_broadcast_weak_tx_drop(&bweak);
    EX_ASSERT(dropped == values);
    hands_free();
}
static int recv_all(int i, int *value)
{
    crt_poll r;
    uint64_t lost = 0;
    MODEL_AWAIT(hand[i], r, crt_broadcast_recv(&hand[i]->cx, brx[i], value, &lost));
    EX_ASSERT((r == CRT_ELAGGED) == (lost != 0));
    return r == CRT_ELAGGED ? (int)lost : (int)r;
}
static void recv_one(void *arg)
{
    int i = (int)(intptr_t)arg;
    EX_ASSERT(recv_all(i, &got[i]) == 0 && got[i] == 1 && EX_READ(data) == 1);
    hand_done(i);
}
static void send_values(int from, int to)
{
    for (int v = from; v <= to; v++) {
        int n = crt_broadcast_send(btx, &v);
        EX_ASSERT(n > 0);
    }
}
static void send_one(void *arg)
{
    (void)arg;
    EX_WRITE(data) = 1;
    send_values(1, 1);
}
static void broadcast_two_receive(void)
{
    broadcast_setup(2);
    int a = ex_spawn(recv_one, (void *)1), b = ex_spawn(send_one, NULL);
    recv_one((void *)0);
    ex_join(a), ex_join(b);
    EX_ASSERT(dropped == 1);   // once both have seen it
    broadcast_end(1);
}
static void broadcast_look(void)
{
    crt_poll r;
    int value = 0;
    broadcast_setup(1);
    EX_ASSERT(crt_broadcast_recv(&hand[0]->cx, brx[0], &value, NULL) == CRT_PENDING);
    int a = ex_spawn(send_one, NULL);
    if ((r = crt_broadcast_recv(&hand[0]->cx, brx[0], &value, NULL)) == CRT_PENDING) r = recv_all(0, &value);
    EX_ASSERT(r == 0 && value == 1 && EX_READ(data) == 1);
    hand_done(0);
    ex_join(a);
    broadcast_end(1);
}
static void send_three(void *arg)
{
    (void)arg;
    send_values(1, 3);
}
// A ring of two: whatever is lost is the oldest, and is counted.
static void broadcast_lag(void)
{
    int seen = 0, value = 0;
    broadcast_setup(1);
    int a = ex_spawn(send_three, NULL);
    while (seen < 3) {
        int before = value, lost = recv_all(0, &value);
        seen += lost ? lost : 1;
        EX_ASSERT(lost >= 0 && value == (lost ? before : seen));
    }
    hand_done(0);
    ex_join(a);
    broadcast_end(3);
}
// Without callbacks a receiver copies ahead: what it has copied and not yet handed out is lost all
// the same once the ring has come round.
static void plain_setup(int receivers)
{
    hands_new();
    EX_ASSERT(crt_broadcast_new(sizeof(int), 2, &btx) == 0);
    btx2 = NULL;
    bweak = NULL;
    for (int i = 0; i < 3; i++) {
        brx[i] = NULL;
        if (i < receivers) EX_ASSERT(crt_broadcast_subscribe(btx, &brx[i]) == 0);
    }
}
// One more of 1, 2, 3, ...: what it has come to. Of those that were lost: minus that.
static int try_next(int i, int seen)
{
    uint64_t lost = 0;
    int value = 0, r = crt_broadcast_try_recv(brx[i], &value, &lost);
    if (r == CRT_ELAGGED) return -(seen + (int)lost);
    EX_ASSERT(r == 0 && value == seen + 1);
    return value;
}
static void send_two_more(void *arg)
{
    (void)arg;
    send_values(3, 4);
}
static void broadcast_copies(void)
{
    plain_setup(1);
    send_values(1, 2);
    int a = ex_spawn(send_two_more, NULL);
    int seen = abs(try_next(0, 0));
    ex_join(a);
    while (seen < 4) {
        int left = (int)crt_broadcast_rx_len(brx[0]), next = try_next(0, seen);
        EX_ASSERT(left == 4 - seen && next == (left > 2 ? -2 : seen + 1));
        seen = abs(next);
    }
    EX_ASSERT(crt_broadcast_len(btx) == 0);
    broadcast_end(0);
}
static void follow(void *arg)
{
    int i = (int)(intptr_t)arg, seen = 0;
    while (seen < 2) seen = abs(try_next(i, seen));
    got[i] = seen;
}
// One keeps up, one does not; the sender asks both how far they are.
static void broadcast_copies_of_two(void)
{
    plain_setup(2);
    send_values(1, 2);
    int a = ex_spawn(follow, (void *)1);
    send_values(3, 3);
    EX_ASSERT(try_next(0, 0) == -1 && try_next(0, 1) == 2);   // it lagged, and was told
    send_values(4, 4);
    EX_ASSERT(try_next(0, 2) == 3);
    ex_join(a);
    EX_ASSERT(got[1] == 2 && try_next(1, 2) == 3 && try_next(0, 3) == 4);
    broadcast_end(0);
}
static void drop_rx(void *arg) { crt_broadcast_rx_drop(&brx[(intptr_t)arg]); }
static void send_maybe(void *arg)
{
    int value = 1;
    (void)arg;
    result[0] = crt_broadcast_send(btx, &value);
}
static void broadcast_rx_drop_against_send(void)
{
    broadcast_setup(1);
    int a = ex_spawn(send_maybe, NULL);
    drop_rx((void *)0);
    ex_join(a);
    EX_ASSERT(result[0] == 1 || result[0] == CRT_ECLOSED);
    EX_ASSERT(dropped == (result[0] == 1));
    broadcast_end(result[0] == 1);
}
// One of two goes, the other receives.
static void broadcast_one_goes(void)
{
    broadcast_setup(2);
    int a = ex_spawn(drop_rx, (void *)1), b = ex_spawn(send_one, NULL);
    recv_one((void *)0);
    ex_join(a), ex_join(b);
    EX_ASSERT(dropped == 1);
    broadcast_end(1);
}
static void send_and_go(void *arg)
{
    send_one(arg);
    crt_broadcast_tx_drop(&btx);
}
static void go2(void *arg)
{
    (void)arg;
    crt_broadcast_tx_drop(&btx2);
}
static void broadcast_senders_go(void)
{
    int value = 0;
    broadcast_setup(1);
    btx2 = crt_broadcast_tx_clone(btx);
    int a = ex_spawn(send_and_go, NULL), b = ex_spawn(go2, NULL);
    EX_ASSERT(recv_all(0, &value) == 0 && value == 1);
    EX_ASSERT(recv_all(0, &value) == CRT_ECLOSED);
    hand_done(0);
    ex_join(a), ex_join(b);
    broadcast_end(1);
}
static void upgrade(void *arg)
{
    (void)arg;
    btx2 = crt_broadcast_weak_tx_upgrade(bweak);
    if (!btx2) return;
    int value = 7;
    result[0] = crt_broadcast_send(btx2, &value);
    EX_ASSERT(result[0] == 1);
    crt_broadcast_tx_drop(&btx2);
}
static void go1(void *arg)
{
    (void)arg;
    crt_broadcast_tx_drop(&btx);
}
static void broadcast_upgrade(void)
{
    int value = 0;
    broadcast_setup(1);
    bweak = crt_broadcast_tx_downgrade(btx);
    int a = ex_spawn(go1, NULL), b = ex_spawn(upgrade, NULL);
    int r = recv_all(0, &value);
    if (r == 0) EX_ASSERT(value == 7 && recv_all(0, &value) == CRT_ECLOSED);
    else EX_ASSERT(r == CRT_ECLOSED);
    hand_done(0);
    ex_join(a), ex_join(b);
    EX_ASSERT((r == 0) == (result[0] == 1));
    broadcast_end(r == 0);
}
static void broadcast_closed(void)
{
    crt_poll r;
    broadcast_setup(2);
    int a = ex_spawn(drop_rx, (void *)0), b = ex_spawn(drop_rx, (void *)1);
    MODEL_AWAIT(hand[0], r, crt_broadcast_closed(&hand[0]->cx, btx));
    EX_ASSERT(r == 0 && crt_broadcast_receiver_count(btx) == 0);
    hand_done(0);
    ex_join(a), ex_join(b);
    broadcast_end(0);
}
// Both sides go at once: who is last frees the channel.
static void broadcast_both_sides_go(void)
{
    broadcast_setup(1);
    int a = ex_spawn(go1, NULL);
    drop_rx((void *)0);
    ex_join(a);
    broadcast_end(0);
}
// Who comes while a value is sent sees it or does not; who was there does.
static void broadcast_resubscribe(void)
{
    int value = 0;
    broadcast_setup(1);
    int a = ex_spawn(send_maybe, NULL);
    EX_ASSERT(crt_broadcast_resubscribe(brx[0], &brx[1]) == 0);
    ex_join(a);
    int late = crt_broadcast_try_recv(brx[1], &value, NULL);
    EX_ASSERT(result[0] == (late == 0 ? 2 : 1));
    EX_ASSERT(crt_broadcast_try_recv(brx[0], &value, NULL) == 0 && value == 1 && dropped == 1);
    broadcast_end(1);
}
// A wait that is given up takes nothing.
static void broadcast_given_up(void)
{
    crt_poll r;
    int value = 0;
    broadcast_setup(1);
    int a = ex_spawn(send_one, NULL);
    MODEL_TRY(hand[0], r, crt_broadcast_recv(&hand[0]->cx, brx[0], &value, NULL));
    hand_done(0);
    ex_join(a);
    if (r == CRT_UNWIND) r = crt_broadcast_try_recv(brx[0], &value, NULL);
    EX_ASSERT(r == 0 && value == 1);
    broadcast_end(1);
}
static crt_poll recv_run(void *frame, crt_cx *cx)
{
    (void)frame;
    return crt_broadcast_recv(cx, brx[0], &got[0], NULL);
}
static void abort_first(void *arg)
{
    (void)arg;
    crt_abort(first);
}
static void broadcast_abort(void)
{
    broadcast_setup(1);
    model_start(recv_run, NULL, 0, &first);
    int a = ex_spawn(send_one, NULL), b = ex_spawn(abort_first, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    if (crt_join_blocking(&first, NULL) != 0) EX_ASSERT(crt_broadcast_try_recv(brx[0], &got[0], NULL) == 0);
    EX_ASSERT(got[0] == 1);
    broadcast_end(1);
}

// --- watch

static void watch_setup(void)
{
    int zero = 0;
    hands_new();
    EX_ASSERT(crt_watch_new(sizeof(int), &zero, &wtx, &wrx[0]) == 0);
    crt_watch_set_ops(wtx, &counted);
    wtx2 = NULL;
    wrx[1] = NULL;
}
static void watch_end(uint32_t values)
{
    crt_watch_rx_drop(&wrx[0]);
    crt_watch_rx_drop(&wrx[1]);
    crt_watch_tx_drop(&wtx);
    crt_watch_tx_drop(&wtx2);
    EX_ASSERT(dropped == values);   // the first among them
    hands_free();
}
static crt_poll changed_all(int i)
{
    crt_poll r;
    MODEL_AWAIT(hand[i], r, crt_watch_changed(&hand[i]->cx, wrx[i]));
    return r;
}
static int watched(int i)
{
    int value = -1;
    crt_watch_get(wrx[i], &value);
    return value;
}
static void watch_send(void *arg)
{
    int value = (int)(intptr_t)arg;
    if (value == 1) EX_WRITE(data) = 1;
    result[0] = crt_watch_send(wtx, &value);
}
static void watch_send_two(void *arg)
{
    (void)arg;
    watch_send((void *)1);
    watch_send((void *)2);
}
// However often it is told: the last version is not missed.
static void watch_changed(void)
{
    int rounds = 0;
    watch_setup();
    int a = ex_spawn(watch_send_two, NULL);
    do {
        EX_ASSERT(changed_all(0) == 0 && ++rounds <= 2);
        EX_ASSERT(EX_READ(data) == 1);
    } while (watched(0) != 2);
    ex_join(a);
    watch_end(3);
}
static void watch_look(void)
{
    crt_poll r;
    watch_setup();
    EX_ASSERT(crt_watch_changed(&hand[0]->cx, wrx[0]) == CRT_PENDING);
    int a = ex_spawn(watch_send, (void *)1);
    if ((r = crt_watch_changed(&hand[0]->cx, wrx[0])) == CRT_PENDING) r = changed_all(0);
    EX_ASSERT(r == 0 && watched(0) == 1 && EX_READ(data) == 1);
    hand_done(0);
    ex_join(a);
    watch_end(2);
}
static void watch_flag(void)
{
    watch_setup();
    int a = ex_spawn(watch_send, (void *)1);
    if (crt_watch_has_changed(wrx[0])) EX_ASSERT(EX_READ(data) == 1);
    ex_join(a);
    EX_ASSERT(crt_watch_has_changed(wrx[0]));
    watch_end(2);
}
static void add_one(void *elem, void *user)
{
    (void)user;
    ++*(int *)elem;
}
static void watch_add(void *arg)
{
    (void)arg;
    crt_watch_send_modify(wtx, add_one, NULL);
}
static bool is_value(const void *elem, void *user) { return *(const int *)elem == *(int *)user; }
static crt_poll wait_for(int want)
{
    crt_poll r;
    int value = -1;
    MODEL_AWAIT(hand[0], r, crt_watch_wait_for(&hand[0]->cx, wrx[0], is_value, &want, &value));
    EX_ASSERT(r != 0 || value == want);
    return r;
}
static void watch_two_senders(void)
{
    watch_setup();
    int a = ex_spawn(watch_add, NULL), b = ex_spawn(watch_add, NULL);
    EX_ASSERT(wait_for(2) == 0);
    hand_done(0);
    ex_join(a), ex_join(b);
    watch_end(1);
}
static void watch_send_and_go(void *arg)
{
    watch_send(arg);
    crt_watch_tx_drop(&wtx);
}
static void watch_go2(void *arg)
{
    (void)arg;
    crt_watch_tx_drop(&wtx2);
}
// What was sent before the end is seen, what was not is not waited for.
static void watch_senders_go(void)
{
    watch_setup();
    wtx2 = crt_watch_tx_clone(wtx);
    int a = ex_spawn(watch_send_and_go, (void *)1), b = ex_spawn(watch_go2, NULL);
    EX_ASSERT(wait_for(1) == 0);
    EX_ASSERT(changed_all(0) == CRT_ECLOSED && crt_watch_rx_is_closed(wrx[0]));
    hand_done(0);
    ex_join(a), ex_join(b);
    watch_end(2);
}
static void watch_never_comes(void)
{
    watch_setup();
    int a = ex_spawn(watch_send_and_go, (void *)1);
    EX_ASSERT(wait_for(5) == CRT_ECLOSED);
    hand_done(0);
    ex_join(a);
    watch_end(2);
}
static void watch_drop_rx(void *arg) { crt_watch_rx_drop(&wrx[(intptr_t)arg]); }
static void watch_closed(void)
{
    crt_poll r;
    int value = 1;
    watch_setup();
    EX_ASSERT(crt_watch_subscribe(wtx, &wrx[1]) == 0);
    int a = ex_spawn(watch_drop_rx, (void *)0), b = ex_spawn(watch_drop_rx, (void *)1);
    MODEL_AWAIT(hand[0], r, crt_watch_closed(&hand[0]->cx, wtx));
    EX_ASSERT(r == 0 && crt_watch_send(wtx, &value) == CRT_ECLOSED);
    hand_done(0);
    ex_join(a), ex_join(b);
    watch_end(1);
}
static void watch_go1(void *arg)
{
    (void)arg;
    crt_watch_tx_drop(&wtx);
}
static void watch_both_sides_go(void)
{
    watch_setup();
    int a = ex_spawn(watch_go1, NULL);
    watch_drop_rx((void *)0);
    ex_join(a);
    watch_end(1);
}
// The last receiver goes while a value is sent.
static void watch_rx_drop_against_send(void)
{
    watch_setup();
    int a = ex_spawn(watch_send, (void *)1);
    watch_drop_rx((void *)0);
    ex_join(a);
    EX_ASSERT(result[0] == 0 || result[0] == CRT_ECLOSED);
    watch_end(1 + (result[0] == 0));
}
// A new receiver has seen the value that it finds, and no later one.
static void watch_subscribe(void)
{
    watch_setup();
    int a = ex_spawn(watch_send, (void *)1);
    EX_ASSERT(crt_watch_subscribe(wtx, &wrx[1]) == 0);
    bool early = watched(1) == 0;
    if (early) EX_ASSERT(changed_all(1) == 0 && watched(1) == 1);
    ex_join(a);
    watch_end(2);
}
static void watch_given_up(void)
{
    crt_poll r;
    watch_setup();
    int a = ex_spawn(watch_send, (void *)1);
    MODEL_TRY(hand[0], r, crt_watch_changed(&hand[0]->cx, wrx[0]));
    hand_done(0);
    ex_join(a);
    EX_ASSERT(crt_watch_has_changed(wrx[0]) == (r == CRT_UNWIND) && watched(0) == 1);
    watch_end(2);
}

static const model models[] = {
    {.name = "broadcast: two receive", .run = broadcast_two_receive},
    {.name = "broadcast: a look while it is sent", .run = broadcast_look},
    {.name = "broadcast: one lags behind", .run = broadcast_lag},
    {.name = "broadcast: copied ahead, and lost", .run = broadcast_copies},
    {.name = "broadcast: copies of two receivers", .run = broadcast_copies_of_two},
    {.name = "broadcast: the receiver goes against send", .run = broadcast_rx_drop_against_send},
    {.name = "broadcast: one goes, one receives", .run = broadcast_one_goes},
    {.name = "broadcast: both senders go", .run = broadcast_senders_go},
    {.name = "broadcast: a weak sender against the last", .run = broadcast_upgrade},
    {.name = "broadcast: closed() against two receivers' end", .run = broadcast_closed},
    {.name = "broadcast: both sides go at once", .run = broadcast_both_sides_go},
    {.name = "broadcast: resubscribe against send", .run = broadcast_resubscribe},
    {.name = "broadcast: recv is given up", .run = broadcast_given_up},
    {.name = "broadcast: recv of a task against its abort", .run = broadcast_abort},
    {.name = "watch: two versions", .run = watch_changed, .spurious_wakes = 1, .spurious_cas = 1},
    {.name = "watch: a look while it is sent", .run = watch_look},
    {.name = "watch: has_changed without the lock", .run = watch_flag},
    {.name = "watch: two senders add", .run = watch_two_senders},
    {.name = "watch: both senders go", .run = watch_senders_go},
    {.name = "watch: a value that never comes", .run = watch_never_comes},
    {.name = "watch: closed() against two receivers' end", .run = watch_closed},
    {.name = "watch: the receiver goes against send", .run = watch_rx_drop_against_send},
    {.name = "watch: both sides go at once", .run = watch_both_sides_go},
    {.name = "watch: subscribe against send", .run = watch_subscribe},
    {.name = "watch: changed is given up", .run = watch_given_up},

    {.name = "seed: broadcast: senders counted in two steps", .run = broadcast_senders_go,
     .seed = {"crt_broadcast_tx_drop", "sub &c->senders", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: broadcast: references in two steps", .run = broadcast_senders_go,
     .seed = {"crt__broadcast_unref", "sub &c->refs", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: broadcast: references without an order", .run = broadcast_both_sides_go,
     .seed = {"crt__broadcast_unref", "sub &c->refs", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: broadcast: upgraded without counting", .run = broadcast_upgrade,
     .seed = {"crt__count_up_unless_zero", "cas count", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: broadcast: the end is not raised", .run = broadcast_closed,
     .seed = {"crt_broadcast_rx_drop", "store &c->idle", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: broadcast: sends without the lock", .run = broadcast_two_receive,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, NULL, 3}},
    {.name = "seed: broadcast: nobody hears that copies are lost", .run = broadcast_copies,
     .seed = {"crt__broadcast_overwrite", "store &c->lost", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: broadcast: a copy handed out in secret", .run = broadcast_copies,
     .seed = {"crt__broadcast_hand_out", "store &r->next", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: broadcast: gives up without the lock", .run = broadcast_given_up,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, NULL, 1}},
    {.name = "seed: watch: senders counted in two steps", .run = watch_senders_go,
     .seed = {"crt_watch_tx_drop", "sub &c->senders", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: watch: references without an order", .run = watch_both_sides_go,
     .seed = {"crt__watch_unref", "sub &c->refs", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: watch: a version without an order", .run = watch_flag,
     .seed = {"crt__watch_tell", "store &c->version", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: watch: seen without an order", .run = watch_flag,
     .seed = {"crt_watch_has_changed", "load &rx->c->version", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: watch: the end is not raised", .run = watch_closed,
     .seed = {"crt_watch_rx_drop", "store &c->idle", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: watch: looks without the lock", .run = watch_changed,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, NULL, 1}},
};
MODEL_MAIN(models)
