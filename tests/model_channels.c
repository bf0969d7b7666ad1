// model_channels.c - oneshot and mpsc.
//
// Promise: a value is delivered exactly once, released exactly once, or left with its
// sender; room that was reserved is used or given back; who waits hears of the end.
#include "model_platform.h"

static model_hand *hand[3];
static int data;                 // plain: written before a send, read after its receipt
static uint32_t dropped;         // atomic: calls of the drop callback
static int sent[2], received;    // results of sends; values that came
static crt_oneshot_tx *tx;
static crt_oneshot_rx *rx;
static crt_mpsc_tx *mtx, *other;
static crt_mpsc_weak_tx *weak;
static crt_mpsc_rx *mrx;
static crt_join_handle *first;

static void setup(void)
{
    model_runtime(1);
    for (int i = 0; i < 3; i++) hand[i] = model_hand_new();
    EX_WRITE(data) = 0;
    dropped = 0;
    received = 0;
    sent[0] = sent[1] = -1;
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
    (void)user;
    EX_ASSERT(*(int *)elem > 0);
    crt__atomic_add(&dropped, 1, ACQ_REL);
}

// --- oneshot

static void oneshot_setup(void)
{
    setup();
    EX_ASSERT(crt_oneshot_new(sizeof(int), &tx, &rx) == 0);
    crt_oneshot_on_drop(rx, count_drop, NULL);
}
static void send_it(void *arg)
{
    int value = 42;
    (void)arg;
    EX_WRITE(data) = 1;
    sent[0] = crt_oneshot_send(&tx, &value);
    EX_ASSERT(!tx && (sent[0] == 0 || sent[0] == CRT_ECLOSED));
}
static void drop_sender(void *arg)
{
    (void)arg;
    crt_oneshot_tx_drop(&tx);
}
static void drop_receiver(void *arg)
{
    (void)arg;
    crt_oneshot_rx_drop(&rx);
}
static void came(int r, int value)
{
    EX_ASSERT(r == 0 && value == 42 && !rx);
    received++;
    EX_ASSERT(EX_READ(data) == 1);
}
static void oneshot_send(void)
{
    crt_poll r;
    int value = 0;
    oneshot_setup();
    int a = ex_spawn(send_it, NULL);
    MODEL_AWAIT(hand[0], r, crt_oneshot_recv(&hand[0]->cx, &rx, &value));
    came((int)r, value);
    ex_join(a);
    hands_free();
}
static void oneshot_sender_goes(void)
{
    crt_poll r;
    int value = 0;
    oneshot_setup();
    int a = ex_spawn(drop_sender, NULL);
    MODEL_AWAIT(hand[0], r, crt_oneshot_recv(&hand[0]->cx, &rx, &value));
    EX_ASSERT(r == CRT_ECLOSED && !rx);
    ex_join(a);
    hands_free();
}
// It looks without waiting, twice, then waits.
static void oneshot_try(void)
{
    crt_poll r = CRT_EEMPTY;
    int value = 0;
    oneshot_setup();
    int a = ex_spawn(send_it, NULL);
    for (int i = 0; i < 2 && r == CRT_EEMPTY; i++) r = crt_oneshot_try_recv(&rx, &value);
    if (r == CRT_EEMPTY) r = crt_oneshot_blocking_recv(&rx, &value);
    came((int)r, value);
    ex_join(a);
    hands_free();
}
// A wait that is given up leaves the value for the next.
static void oneshot_give_up(void)
{
    crt_poll r;
    int value = 0;
    oneshot_setup();
    int a = ex_spawn(send_it, NULL);
    MODEL_TRY(hand[0], r, crt_oneshot_recv(&hand[0]->cx, &rx, &value));
    hand_done(0);
    if (r == CRT_UNWIND) r = crt_oneshot_blocking_recv(&rx, &value);
    came((int)r, value);
    ex_join(a);
    hands_free();
}
static void oneshot_close(void)
{
    int value = 0;
    oneshot_setup();
    int a = ex_spawn(send_it, NULL);
    crt_oneshot_rx_close(rx);
    int r = crt_oneshot_try_recv(&rx, &value);
    if (r == 0) came(r, value);
    else EX_ASSERT(r == CRT_ECLOSED && !rx);
    ex_join(a);
    EX_ASSERT((sent[0] == 0) == (r == 0) && !dropped);
    hands_free();
}
static void oneshot_drop(void)
{
    oneshot_setup();
    int a = ex_spawn(send_it, NULL);
    drop_receiver(NULL);
    ex_join(a);
    EX_ASSERT(dropped == (sent[0] == 0));
    hands_free();
}
static void oneshot_closed(void)
{
    crt_poll r;
    oneshot_setup();
    int a = ex_spawn(drop_receiver, NULL);
    MODEL_AWAIT(hand[0], r, crt_oneshot_closed(&hand[0]->cx, tx));
    EX_ASSERT(r == 0 && crt_oneshot_is_closed(tx));
    hand_done(0);
    send_it(NULL);
    EX_ASSERT(sent[0] == CRT_ECLOSED);
    ex_join(a);
    hands_free();
}
// The sender waits for the end, but not for long, and sends.
static void oneshot_closed_given_up(void)
{
    crt_poll r;
    oneshot_setup();
    int a = ex_spawn(drop_receiver, NULL);
    MODEL_TRY(hand[0], r, crt_oneshot_closed(&hand[0]->cx, tx));
    hand_done(0);
    send_it(NULL);
    EX_ASSERT(r != 0 || sent[0] == CRT_ECLOSED);
    ex_join(a);
    EX_ASSERT(dropped == (sent[0] == 0));
    hands_free();
}
// With a task that is aborted: it drops the receiver.
static crt_poll recv_run(void *frame, crt_cx *cx)
{
    int value = 0;
    (void)frame;
    crt_poll r = crt_oneshot_recv(cx, &rx, &value);
    if (r == 0) came(0, value);
    if (r == CRT_UNWIND) crt_oneshot_rx_drop(&rx);
    return r;
}
static void abort_first(void *arg)
{
    (void)arg;
    crt_abort(first);
}
static void oneshot_task_with(void (*sender)(void *))
{
    oneshot_setup();
    model_start(recv_run, NULL, 0, &first);
    int a = ex_spawn(sender, NULL), b = ex_spawn(abort_first, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    crt_detach(&first);
    EX_ASSERT((uint32_t)received + dropped == (sent[0] == 0));
    hands_free();
}
static void oneshot_send_against_abort(void) { oneshot_task_with(send_it); }
static void oneshot_drop_against_abort(void) { oneshot_task_with(drop_sender); }

// --- mpsc

static void mpsc_setup(size_t size, size_t capacity)
{
    setup();
    EX_ASSERT(crt_mpsc_new(size, capacity, &mtx, &mrx) == 0);
    other = NULL;
    weak = NULL;
}
static void mpsc_quiet(void)
{
    crt__mpsc *c = (crt__mpsc *)mtx;
    if (c) EX_ASSERT(!c->q.head && !c->reserved && !c->receiver);
    crt_mpsc_tx_drop(&other);
    crt_mpsc_weak_tx_drop(&weak);
    crt_mpsc_tx_drop(&mtx);
    crt_mpsc_rx_drop(&mrx);
    hands_free();
}
static crt_poll recv_at(int i, int *value) { return crt_mpsc_recv(&hand[i]->cx, mrx, value); }
static int recv_all(int i)
{
    crt_poll r;
    int value = 0;
    MODEL_AWAIT(hand[i], r, recv_at(i, &value));
    EX_ASSERT(r == 0 || r == CRT_ECLOSED);
    return r == 0 ? value : 0;
}
static void send_all(int i, int value)
{
    crt_poll r;
    MODEL_AWAIT(hand[i], r, crt_mpsc_send(&hand[i]->cx, mtx, &value));
    EX_ASSERT(r == 0);
}
static void send_two(void *arg)
{
    (void)arg;
    send_all(1, 1);
    send_all(1, 2);
    hand_done(1);
}
static void send_one(void *arg)
{
    (void)arg;
    send_all(2, 10);
    hand_done(2);
}
// Senders wait for room, the receiver for elements; each sender's own stay in order.
static void two_senders(void)
{
    int sum = 0, last = 0;
    mpsc_setup(sizeof(int), 1);
    int a = ex_spawn(send_two, NULL), b = ex_spawn(send_one, NULL);
    for (int i = 0; i < 3; i++) {
        int value = recv_all(0);
        sum += value;
        if (value < 10) {
            EX_ASSERT(value == last + 1);
            last = value;
        }
    }
    EX_ASSERT(sum == 13);
    hand_done(0);
    ex_join(a), ex_join(b);
    mpsc_quiet();
}
static void publish(void *arg)
{
    int value = 1;
    (void)arg;
    EX_WRITE(data) = 1;
    EX_ASSERT(crt_mpsc_try_send(mtx, &value) == 0);
}
static void recv_against_send(void)
{
    mpsc_setup(sizeof(int), 0);
    int a = ex_spawn(publish, NULL);
    EX_ASSERT(recv_all(0) == 1 && EX_READ(data) == 1);
    hand_done(0);
    ex_join(a);
    mpsc_quiet();
}
// The first element of a block is sent under the lock, those that follow without it.
static void past_the_first(size_t size, size_t capacity)
{
    static char room[2100];
    mpsc_setup(size, capacity);
    EX_ASSERT(crt_mpsc_try_send(mtx, room) == 0 && crt_mpsc_try_recv(mrx, room) == 0);
}
static void recv_against_claim(void)
{
    past_the_first(sizeof(int), 0);
    int a = ex_spawn(publish, NULL);
    EX_ASSERT(recv_all(0) == 1 && EX_READ(data) == 1);
    hand_done(0);
    ex_join(a);
    mpsc_quiet();
}
// Two claim at once: both elements come, also the one whose sender was overtaken while it wrote.
static void publish_other(void *arg)
{
    int value = 2;
    (void)arg;
    EX_ASSERT(crt_mpsc_try_send(mtx, &value) == 0);
}
static void two_claim(void)
{
    past_the_first(sizeof(int), 0);
    int a = ex_spawn(publish, NULL), b = ex_spawn(publish_other, NULL);
    EX_ASSERT(recv_all(0) + recv_all(0) == 3 && EX_READ(data) == 1);
    hand_done(0);
    ex_join(a), ex_join(b);
    mpsc_quiet();
}
// Who was told that the other one has sent does not hear that nothing is there.
static void try_recv_after_claims(void)
{
    int value = 0;
    past_the_first(sizeof(int), 0);
    int a = ex_spawn(publish_other, NULL);
    publish(NULL);
    EX_ASSERT(crt_mpsc_try_recv(mrx, &value) == 0);
    ex_join(a);
    EX_ASSERT(crt_mpsc_try_recv(mrx, &value) == 0);
    mpsc_quiet();
}
// One place: for a permit, or for a claim.
static void reserve_one(void *arg)
{
    (void)arg;
    sent[0] = crt_mpsc_try_reserve(mtx);
}
static void try_send_one(void *arg)
{
    int value = 4;
    (void)arg;
    sent[1] = crt_mpsc_try_send(mtx, &value);
}
static void reserve_against_claim(void)
{
    past_the_first(sizeof(int), 1);
    int a = ex_spawn(reserve_one, NULL), b = ex_spawn(try_send_one, NULL);
    ex_join(a), ex_join(b);
    EX_ASSERT((sent[0] == 0) + (sent[1] == 0) == 1 && sent[0] + sent[1] == CRT_EFULL);
    if (sent[0] == 0) crt_mpsc_unreserve(mtx);
    mpsc_quiet();
}
// A permit comes and goes and is given to somebody who waits while a claim is made.
static void unreserve_it(void *arg)
{
    (void)arg;
    crt_mpsc_unreserve(mtx);
    sent[0] = crt_mpsc_try_reserve(mtx);
}
static void permits_come_and_go(void)
{
    past_the_first(sizeof(int), 1);
    EX_ASSERT(crt_mpsc_try_reserve(mtx) == 0);
    int a = ex_spawn(unreserve_it, NULL), b = ex_spawn(try_send_one, NULL);
    ex_join(a), ex_join(b);
    EX_ASSERT((sent[0] == 0) + (sent[1] == 0) == 1);
    if (sent[0] == 0) crt_mpsc_unreserve(mtx);
    mpsc_quiet();
}
// A receiver that closes against a claim: the element is received, or was refused.
static void close_against_claim(void)
{
    int value = 0;
    past_the_first(sizeof(int), 0);
    int a = ex_spawn(try_send_one, NULL);
    crt_mpsc_rx_close(mrx);
    int r = crt_mpsc_try_recv(mrx, &value);
    ex_join(a);
    EX_ASSERT(r == (sent[1] == 0 ? 0 : CRT_ECLOSED) && value == (r ? 0 : 4));
    mpsc_quiet();
}
// A wait that is given up takes nothing.
static void recv_given_up(void)
{
    crt_poll r;
    int value = 0;
    mpsc_setup(sizeof(int), 0);
    int a = ex_spawn(publish, NULL);
    MODEL_TRY(hand[0], r, recv_at(0, &value));
    hand_done(0);
    ex_join(a);
    if (r == CRT_UNWIND) EX_ASSERT(crt_mpsc_try_recv(mrx, &value) == 0);
    EX_ASSERT(value == 1);
    mpsc_quiet();
}
// A block for each element: they come, go and come again while it is read.
typedef struct big {
    int number;
    char room[2100];
} big;
static void send_big(void *arg)
{
    big b = {0, {0}};
    (void)arg;
    for (b.number = 1; b.number <= 3; b.number++) EX_ASSERT(crt_mpsc_try_send(mtx, &b) == 0);
}
static void blocks_go_round(void)
{
    big b = {0, {0}};
    crt_poll r;
    mpsc_setup(sizeof b, 0);
    int a = ex_spawn(send_big, NULL);
    for (int i = 1; i <= 3; i++) {
        MODEL_AWAIT(hand[0], r, crt_mpsc_recv(&hand[0]->cx, mrx, &b));
        EX_ASSERT(r == 0 && b.number == i);
    }
    hand_done(0);
    ex_join(a);
    mpsc_quiet();
}
// Two elements to a block: one sender begins the next while the other ends the last.
typedef struct half {
    int number;
    char room[2040];
} half;
static void send_half(void *arg)
{
    half h = {(int)(intptr_t)arg, {0}};
    for (int i = 0; i < h.number; i++) EX_ASSERT(crt_mpsc_try_send(mtx, &h) == 0);
}
static void blocks_meet(void)
{
    half h = {0, {0}};
    crt_poll r;
    int sum = 0;
    past_the_first(sizeof h, 0);
    int a = ex_spawn(send_half, (void *)1), b = ex_spawn(send_half, (void *)2);
    for (int i = 1; i <= 3; i++) {
        MODEL_AWAIT(hand[0], r, crt_mpsc_recv(&hand[0]->cx, mrx, &h));
        EX_ASSERT(r == 0);
        sum += h.number;
    }
    EX_ASSERT(sum == 5);
    hand_done(0);
    ex_join(a), ex_join(b);
    mpsc_quiet();
}
// Two places, both full. One waits for two, another behind it for one.
static void take_two(void *arg)
{
    int value;
    (void)arg;
    EX_ASSERT(crt_mpsc_try_recv(mrx, &value) == 0 && value == 1);
    EX_ASSERT(crt_mpsc_try_recv(mrx, &value) == 0 && value == 2);
}
static void full_setup(void)
{
    mpsc_setup(sizeof(int), 2);
    for (int i = 1; i <= 2; i++) EX_ASSERT(crt_mpsc_try_send(mtx, &i) == 0);
    EX_ASSERT(crt_mpsc_reserve_many(&hand[1]->cx, mtx, 2) == CRT_PENDING);
}
static void give_up_two(void *arg)
{
    crt_poll r;
    (void)arg;
    MODEL_GIVE_UP(hand[1], r, crt_mpsc_reserve_many(&hand[1]->cx, mtx, 2));
    EX_ASSERT(r == CRT_UNWIND);
    hand_done(1);
}
static void reserve_given_up(void)
{
    int value = 0;
    full_setup();
    int a = ex_spawn(take_two, NULL), b = ex_spawn(give_up_two, NULL);
    send_all(0, 5);
    hand_done(0);
    ex_join(a), ex_join(b);
    EX_ASSERT(crt_mpsc_capacity(mtx) == 1 && crt_mpsc_try_recv(mrx, &value) == 0 && value == 5);
    mpsc_quiet();
}
static void try_to_overtake(void *arg)
{
    int value = 9;
    (void)arg;
    EX_ASSERT(crt_mpsc_try_send(mtx, &value) == CRT_EFULL);
}
static void reserve_two(void)
{
    crt_poll r;
    full_setup();
    int a = ex_spawn(take_two, NULL), b = ex_spawn(try_to_overtake, NULL);
    MODEL_AWAIT(hand[1], r, crt_mpsc_reserve_many(&hand[1]->cx, mtx, 2));
    EX_ASSERT(r == 0);
    hand_done(1);
    ex_join(a), ex_join(b);
    for (int i = 1; i <= 2; i++) EX_ASSERT(crt_mpsc_send_reserved(mtx, &i) == 0);
    mpsc_quiet();
}
// The last sender goes, a weak one wants to become one: closed, or one more value.
static void drop_tx(void *arg)
{
    (void)arg;
    crt_mpsc_tx_drop(&mtx);
}
static void upgrade(void *arg)
{
    int value = 7;
    (void)arg;
    other = crt_mpsc_weak_tx_upgrade(weak);
    received = other != NULL;
    if (other) EX_ASSERT(crt_mpsc_try_send(other, &value) == 0);
    crt_mpsc_tx_drop(&other);
}
static void upgrade_against_end(void)
{
    mpsc_setup(sizeof(int), 0);
    weak = crt_mpsc_tx_downgrade(mtx);
    int a = ex_spawn(drop_tx, NULL), b = ex_spawn(upgrade, NULL);
    int value = recv_all(0);
    if (value) EX_ASSERT(value == 7 && recv_all(0) == 0);
    ex_join(a), ex_join(b);
    EX_ASSERT(received == (value == 7) && crt_mpsc_weak_count(mrx) == 1);
    mpsc_quiet();
}
// It sends without the lock, and goes: who hears of the end has had what it sent.
static void publish_and_go(void *arg)
{
    publish(arg);
    drop_tx(arg);
}
static void last_words(void)
{
    past_the_first(sizeof(int), 0);
    int a = ex_spawn(publish_and_go, NULL);
    EX_ASSERT(recv_all(0) == 1 && EX_READ(data) == 1);
    EX_ASSERT(recv_all(0) == 0);
    hand_done(0);
    ex_join(a);
    mpsc_quiet();
}
static void last_words_tried(void)
{
    int value = 0, r;
    past_the_first(sizeof(int), 0);
    int a = ex_spawn(publish_and_go, NULL);
    while ((r = crt_mpsc_try_recv(mrx, &value)) == CRT_EEMPTY) crt__cpu_relax();
    EX_ASSERT(r == 0 && value == 1 && EX_READ(data) == 1);
    ex_join(a);
    EX_ASSERT(crt_mpsc_try_recv(mrx, &value) == CRT_ECLOSED);
    mpsc_quiet();
}
static void drop_other(void *arg)
{
    (void)arg;
    crt_mpsc_tx_drop(&other);
}
static void both_senders_go(void)
{
    mpsc_setup(sizeof(int), 0);
    other = crt_mpsc_tx_clone(mtx);
    int a = ex_spawn(drop_tx, NULL), b = ex_spawn(drop_other, NULL);
    EX_ASSERT(recv_all(0) == 0);
    ex_join(a), ex_join(b);
    mpsc_quiet();
}
static void drop_rx(void *arg)
{
    (void)arg;
    crt_mpsc_rx_drop(&mrx);
}
static void mpsc_closed(void)
{
    crt_poll r;
    int value = 1;
    mpsc_setup(sizeof(int), 0);
    int a = ex_spawn(drop_rx, NULL);
    MODEL_AWAIT(hand[0], r, crt_mpsc_closed(&hand[0]->cx, mtx));
    EX_ASSERT(r == 0 && crt_mpsc_try_send(mtx, &value) == CRT_ECLOSED);
    hand_done(0);
    ex_join(a);
    mpsc_quiet();
}
// The receiver closes while two permits are out: one is used, one given back.
static void use_permit(void *arg)
{
    int value = 5;
    (void)arg;
    EX_ASSERT(crt_mpsc_send_reserved(mtx, &value) == 0);
}
static void give_permit_back(void *arg)
{
    (void)arg;
    crt_mpsc_unreserve(mtx);
}
static void close_with_permits(void)
{
    mpsc_setup(sizeof(int), 2);
    EX_ASSERT(crt_mpsc_try_reserve_many(mtx, 2) == 0);
    int a = ex_spawn(use_permit, NULL), b = ex_spawn(give_permit_back, NULL);
    crt_mpsc_rx_close(mrx);
    EX_ASSERT(recv_all(0) == 5 && recv_all(0) == 0);
    ex_join(a), ex_join(b);
    mpsc_quiet();
}
// A sender waits for room while the receiver goes.
static void close_against_sender(void)
{
    crt_poll r;
    int value = 3;
    mpsc_setup(sizeof(int), 1);
    crt_mpsc_on_drop(mrx, count_drop, NULL);
    EX_ASSERT(crt_mpsc_try_send(mtx, &value) == 0);
    int a = ex_spawn(drop_rx, NULL);
    MODEL_AWAIT(hand[0], r, crt_mpsc_send(&hand[0]->cx, mtx, &value));
    EX_ASSERT(r == CRT_ECLOSED);
    hand_done(0);
    ex_join(a);
    EX_ASSERT(dropped == 1);
    mpsc_quiet();
}
static void send_and_drop(void *arg)
{
    (void)arg;
    for (int i = 1; i <= 2; i++) sent[i - 1] = crt_mpsc_try_send(mtx, &i);
    crt_mpsc_tx_drop(&mtx);
}
static void mpsc_drop_callback(void)
{
    int value;
    mpsc_setup(sizeof(int), 0);
    crt_mpsc_on_drop(mrx, count_drop, NULL);
    int a = ex_spawn(send_and_drop, NULL);
    received = crt_mpsc_try_recv(mrx, &value) == 0;
    drop_rx(NULL);
    ex_join(a);
    EX_ASSERT((uint32_t)received + dropped == (uint32_t)((sent[0] == 0) + (sent[1] == 0)));
    mpsc_quiet();
}
// A task sends and is aborted; a plain thread receives what there is.
static crt_poll send_run(void *frame, crt_cx *cx)
{
    int value = 8;
    (void)frame;
    return crt_mpsc_send(cx, mtx, &value);
}
static void take_one(void *arg)
{
    int value;
    (void)arg;
    EX_ASSERT(crt_mpsc_try_recv(mrx, &value) == 0 && value == 1);
}
static void send_against_abort(void)
{
    int value = 1, n = 0;
    intptr_t result = -1;
    mpsc_setup(sizeof(int), 1);
    EX_ASSERT(crt_mpsc_try_send(mtx, &value) == 0);
    model_start(send_run, NULL, 0, &first);
    int a = ex_spawn(abort_first, NULL), b = ex_spawn(take_one, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    bool went = crt_join_blocking(&first, &result) == 0;
    while (crt_mpsc_try_recv(mrx, &value) == 0) n += value == 8;
    EX_ASSERT(n == went && crt_mpsc_capacity(mtx) == 1);
    mpsc_quiet();
}

static const model models[] = {
    {.name = "oneshot: send", .run = oneshot_send, .spurious_wakes = 1, .spurious_cas = 1},
    {.name = "oneshot: the sender goes", .run = oneshot_sender_goes},
    {.name = "oneshot: try_recv against send", .run = oneshot_try},
    {.name = "oneshot: a wait is given up", .run = oneshot_give_up},
    {.name = "oneshot: close against send", .run = oneshot_close},
    {.name = "oneshot: the receiver goes, the callback", .run = oneshot_drop},
    {.name = "oneshot: closed() against the receiver's end", .run = oneshot_closed},
    {.name = "oneshot: closed() is given up, then send", .run = oneshot_closed_given_up},
    {.name = "oneshot: send against an abort", .run = oneshot_send_against_abort},
    {.name = "oneshot: the sender goes against an abort", .run = oneshot_drop_against_abort},
    {.name = "mpsc: recv against send", .run = recv_against_send, .spurious_wakes = 1, .spurious_cas = 1},
    {.name = "mpsc: recv against a claim", .run = recv_against_claim, .spurious_cas = 1},
    {.name = "mpsc: two claim", .run = two_claim},
    {.name = "mpsc: try_recv after two claims", .run = try_recv_after_claims},
    {.name = "mpsc: one place, for a permit or a claim", .run = reserve_against_claim},
    {.name = "mpsc: a permit comes and goes against a claim", .run = permits_come_and_go},
    {.name = "mpsc: close against a claim", .run = close_against_claim},
    {.name = "mpsc: the end of a block meets the next", .run = blocks_meet},
    {.name = "mpsc: recv is given up", .run = recv_given_up},
    {.name = "mpsc: blocks go round", .run = blocks_go_round},
    {.name = "mpsc: a permit for two, nobody overtakes", .run = reserve_two},
    {.name = "mpsc: a permit for two is given up", .run = reserve_given_up},
    {.name = "mpsc: both senders go", .run = both_senders_go},
    {.name = "mpsc: the last sender sends and goes", .run = last_words},
    {.name = "mpsc: the last sender sends and goes, a look", .run = last_words_tried},
    {.name = "mpsc: a weak sender against the last", .run = upgrade_against_end},
    {.name = "mpsc: closed() against the receiver's end", .run = mpsc_closed},
    {.name = "mpsc: closed with permits out", .run = close_with_permits},
    {.name = "mpsc: the receiver goes, a sender waits", .run = close_against_sender},
    {.name = "mpsc: the drop callback, once for each", .run = mpsc_drop_callback},
    {.name = "mpsc: send of a task against its abort", .run = send_against_abort},
    {.name = "mpsc: two senders, one place", .run = two_senders},

    {.name = "seed: oneshot: sent in two steps", .run = oneshot_send,
     .seed = {"crt__oneshot_end", "cas &o->word", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: oneshot: sent without an order", .run = oneshot_send,
     .seed = {"crt__oneshot_end", "cas &o->word", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: oneshot: looked at without an order", .run = oneshot_try,
     .seed = {"crt_oneshot_try_recv", "load &o->word", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: oneshot: a wait that is given up stays", .run = oneshot_give_up,
     .seed = {"crt__word_unpark", NULL, MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: oneshot: the sender is not told", .run = oneshot_closed,
     .seed = {"crt_oneshot_rx_close", "xchg &o->closing", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: oneshot: references in two steps", .run = oneshot_drop,
     .seed = {"crt__oneshot_unref", "sub &o->refs", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: mpsc: sent without an order", .run = recv_against_claim,
     .seed = {"crt__mpsc_put", "store &b->ready[i]", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: mpsc: looked at without an order", .run = recv_against_claim,
     .seed = {"crt__mpsc_take", "load &b->ready[i]", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: mpsc: a claim in two steps", .run = two_claim,
     .seed = {"crt__mpsc_send_now", "cas &c->tail", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: mpsc: a claim without an order", .run = blocks_meet,
     .seed = {"crt__mpsc_send_now", "load &c->tail", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: mpsc: the lock without the right to claim", .run = reserve_against_claim,
     .seed = {"crt__mpsc_enter", "or &c->tail", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: mpsc: parks in two steps", .run = recv_against_claim,
     .seed = {"crt__mpsc_nothing", "cas &c->tail", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: mpsc: a sender waits without saying so", .run = two_senders,
     .seed = {"crt__mpsc_wait_room", "or &c->taken", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: mpsc: taken in two steps", .run = two_senders,
     .seed = {"crt__mpsc_take", "add &c->taken", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: mpsc: senders counted in two steps", .run = both_senders_go,
     .seed = {"crt_mpsc_tx_drop", "sub &c->senders", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: mpsc: the last sender goes without an order", .run = last_words,
     .seed = {"crt_mpsc_tx_drop", "sub &c->senders", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: mpsc: the end is seen without an order", .run = last_words,
     .seed = {"crt__mpsc_over", "load &c->senders", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: mpsc: upgraded in two steps", .run = upgrade_against_end,
     .seed = {"crt__count_up_unless_zero", "cas count", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: mpsc: upgraded without counting", .run = upgrade_against_end,
     .seed = {"crt__count_up_unless_zero", "cas count", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: mpsc: closed() is not raised", .run = mpsc_closed,
     .seed = {"crt_mpsc_rx_close", "store &c->closed", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: mpsc: gives up without the lock", .run = reserve_given_up,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, NULL, 3}},
};
MODEL_MAIN(models)
