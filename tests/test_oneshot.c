// oneshot: what Tokio's own tests of it check, and what is crt's own.
//
// Held against tokio/tests/sync_oneshot.rs (Tokio's name -> test here; "channels:" is in
// test_channels.c):
//   send_recv, async_send_recv              -> channels: oneshot_gives_its_value_once
//   close_tx                                -> channels: oneshot_tells_when_the_other_side_is_gone
//   close_rx, async_rx_closed               -> the_sender_hears_of_the_end, the_end_comes_from_another_task
//   explicit_close_poll, explicit_close_try_recv -> a_closed_receiver_still_gets_what_was_sent
//   close_try_recv_poll                     -> a_receiver_ends_once (CRT_EINVAL where Tokio panics)
//   close_after_recv, try_recv_after_completion(_await) -> a_receiver_ends_once
//   drops_tasks                             -> dropping_both_sides_lets_go_of_waiting_tasks
//   receiver_changes_task, sender_changes_task -> the_wait_moves_to_another_task
//   receiver_is_terminated_* (4)            -> a_receiver_ends_once (terminated: the handle is NULL)
//   receiver_is_empty_* (4)                 -> a_receiver_ends_once (crt has no such question: try_recv answers it)
// tokio/src/sync/tests/loom_oneshot.rs:
//   smoke, recv_closed, changing_rx_task, changing_tx_task, checking_tx_send_ok_not_drop, drop_rx_after_poll
//                                           -> model_channels.c, racing_ends
//   try_recv_close                          -> racing_ends
// tokio/tests/sync_panic.rs: oneshot_blocking_recv_panic_caller -> blocking_is_refused_inside_a_task
#include "channels.h"

static int try_int(crt_oneshot_rx **rx)
{
    int v = -1, r = crt_oneshot_try_recv(rx, &v);
    return r ? r : v;
}
static void make_ints(crt_oneshot_tx **tx, crt_oneshot_rx **rx) { CHECK_EQ(crt_oneshot_new(sizeof(int), tx, rx), 0); }
// Woken: the word, which holds the waiting task, has been cleared or ended.
static bool recv_woken(crt_oneshot_rx *rx) { return crt__atomic_load(&((crt__oneshot *)rx)->word, CRT__ACQUIRE) < CRT__WORD_TASK; }
static bool closed_woken(crt_oneshot_tx *tx) { return crt__atomic_load(&((crt__oneshot *)tx)->closing, CRT__ACQUIRE) < CRT__WORD_TASK; }

BODY(the_sender_hears_of_the_end)
{
    POLLS;
    for (int parked = 0; parked < 2; parked++)
        for (int close = 0; close < 2; close++) {
            crt_oneshot_tx *tx;
            crt_oneshot_rx *rx;
            crt_slot c = {0};
            make_ints(&tx, &rx);
            CHECK(!crt_oneshot_is_closed(tx));
            if (parked) {
                CHECK_EQ(AT(c, crt_oneshot_closed(cx, tx)), PENDING);
                CHECK_EQ(AT(c, crt_oneshot_closed(cx, tx)), PENDING);   // polled for nothing
                CHECK(!closed_woken(tx));
            }
            if (close) crt_oneshot_rx_close(rx);
            else crt_oneshot_rx_drop(&rx);
            CHECK(closed_woken(tx));
            CHECK(crt_oneshot_is_closed(tx));
            CHECK_EQ(AT(c, crt_oneshot_closed(cx, tx)), 0);
            CHECK_EQ(AT(c, crt_oneshot_closed(cx, tx)), 0);   // for good
            CHECK_EQ(crt_oneshot_send(&tx, &(int){1}), CRT_ECLOSED);
            CHECK(!tx);
            if (close) CHECK_EQ(try_int(&rx), CRT_ECLOSED);
            CHECK(!rx);
        }
    crt_slot c = {0};
    CHECK_EQ(AT(c, crt_oneshot_closed(cx, NULL)), CRT_EINVAL);
}
BODY(a_closed_receiver_still_gets_what_was_sent)
{
    POLLS;
    for (int form = 0; form < 2; form++)
        for (int sent = 0; sent < 2; sent++) {
            crt_oneshot_tx *tx;
            crt_oneshot_rx *rx;
            crt_slot r = {0};
            int v = -1;
            make_ints(&tx, &rx);
            if (sent) CHECK_EQ(crt_oneshot_send(&tx, &(int){1}), 0);
            crt_oneshot_rx_close(rx);
            crt_oneshot_rx_close(rx);   // again does nothing
            int got_it = form ? crt_oneshot_try_recv(&rx, &v) : (int)AT(r, crt_oneshot_recv(cx, &rx, &v));
            CHECK_EQ(got_it, sent ? 0 : CRT_ECLOSED);
            CHECK_EQ(v, sent ? 1 : -1);
            CHECK(!rx);
            crt_oneshot_tx_drop(&tx);
        }
    // Closed by another holder of the pointer under a parked receiver: it is told.
    crt_oneshot_tx *tx;
    crt_oneshot_rx *rx;
    crt_slot r = {0};
    int v = -1;
    make_ints(&tx, &rx);
    CHECK_EQ(AT(r, crt_oneshot_recv(cx, &rx, &v)), PENDING);
    crt_oneshot_rx_close(rx);
    CHECK(recv_woken(rx));
    CHECK_EQ(AT(r, crt_oneshot_recv(cx, &rx, &v)), CRT_ECLOSED);
    CHECK_EQ(crt_oneshot_send(&tx, &v), CRT_ECLOSED);
}
BODY(a_receiver_ends_once)
{
    POLLS;
    for (int how = 0; how < 3; how++)   // a value, the sender gone, closed
        for (int form = 0; form < 2; form++) {
            crt_oneshot_tx *tx;
            crt_oneshot_rx *rx;
            crt_slot r = {0};
            int v = -1, want = how ? CRT_ECLOSED : 0;
            make_ints(&tx, &rx);
            CHECK_EQ(try_int(&rx), CRT_EEMPTY);   // empty, and the handle is kept
            CHECK(rx);
            if (how == 0) CHECK_EQ(crt_oneshot_send(&tx, &(int){17}), 0);
            if (how == 1) crt_oneshot_tx_drop(&tx);
            if (how == 2) crt_oneshot_rx_close(rx);
            CHECK(rx);
            if (form) CHECK_EQ(crt_oneshot_try_recv(&rx, &v), want);
            else CHECK_EQ(AT(r, crt_oneshot_recv(cx, &rx, &v)), want);
            CHECK_EQ(v, how ? -1 : 17);
            CHECK(!rx);
            CHECK_EQ(AT(r, crt_oneshot_recv(cx, &rx, &v)), CRT_EINVAL);
            CHECK_EQ(try_int(&rx), CRT_EINVAL);
            crt_oneshot_rx_drop(&rx);
            crt_oneshot_tx_drop(&tx);
            CHECK_EQ(crt_oneshot_send(&tx, &v), CRT_EINVAL);
        }
}
// Both sides wait (the receiver for the value, the sender for the end); the waits are
// cancelled and the sides dropped, in every order: no reference stays behind.
BODY(dropping_both_sides_lets_go_of_waiting_tasks)
{
    POLLS;
    for (int order = 0; order < 4; order++) {
        crt_oneshot_tx *tx;
        crt_oneshot_rx *rx;
        crt_slot r = {0}, c = {0};
        int v = -1;
        uint32_t refs = crt__atomic_load(&cx->task->state, CRT__ACQUIRE) / CRT__REF;
        make_ints(&tx, &rx);
        CHECK_EQ(AT(c, crt_oneshot_closed(cx, tx)), PENDING);
        CHECK_EQ(AT(r, crt_oneshot_recv(cx, &rx, &v)), PENDING);
        CHECK_EQ(crt__atomic_load(&cx->task->state, CRT__ACQUIRE) / CRT__REF, refs + 2);
        if (order & 1) CHECK_EQ(CANCEL(r, crt_oneshot_recv(cx, &rx, &v)), UNWIND);
        if (order & 1) crt_oneshot_rx_drop(&rx);
        CHECK_EQ(CANCEL(c, crt_oneshot_closed(cx, tx)), UNWIND);
        crt_oneshot_tx_drop(&tx);
        if (!(order & 1)) {
            if (order & 2) CHECK_EQ(CANCEL(r, crt_oneshot_recv(cx, &rx, &v)), UNWIND);
            else CHECK_EQ(AT(r, crt_oneshot_recv(cx, &rx, &v)), CRT_ECLOSED);
            crt_oneshot_rx_drop(&rx);
        }
        CHECK(!r.op && !c.op);
        // A wake that was sent may hold the task for a moment (it waits to run again).
        uint32_t now = crt__atomic_load(&cx->task->state, CRT__ACQUIRE) / CRT__REF;
        CHECK(now == refs || now == refs + 1);
    }
}

// One task after the other waits with the same handle: only the last is woken. At the
// same time it is CRT_EBUSY for the second.
typedef struct waits {
    crt_frame co;
    crt_oneshot_rx **rx;
    crt_oneshot_tx *tx;
    int *polls;
    int v;
    crt_poll r;
} waits;
static crt_poll waits_poll(waits *self, crt_cx *cx)
{
    __atomic_fetch_add(self->polls, 1, __ATOMIC_SEQ_CST);
    return self->tx ? crt_oneshot_closed(cx, self->tx) : crt_oneshot_recv(cx, self->rx, &self->v);
}
static crt_poll waits_run(void *frame, crt_cx *cx)
{
    waits *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = waits_poll(self, cx));
    CRT_RETURN(self->r ? self->r : 100 + self->v);
    CRT_END;
}
typedef struct moves {
    crt_frame co;
    crt_oneshot_tx *tx;
    crt_oneshot_rx *rx;
    crt_join_handle *first, *second, *third;
    int polls[3], side;
    intptr_t result;
    crt_poll r;
} moves;
static crt_poll moves_run(void *frame, crt_cx *cx)
{
    moves *self = frame;
    CRT_BEGIN(self, cx);
    for (self->side = 0; self->side < 2; self->side++) {
        memset(self->polls, 0, sizeof self->polls);
        make_ints(&self->tx, &self->rx);
        CHECK_EQ(crt_spawn_join(cx, &self->first, waits_run,
            (&(waits){.rx = &self->rx, .tx = self->side ? self->tx : NULL, .polls = &self->polls[0]})), 0);
        while (!__atomic_load_n(&self->polls[0], __ATOMIC_SEQ_CST)) CRT_YIELD();
        CHECK_EQ(crt_spawn_join(cx, &self->second, waits_run,
            (&(waits){.rx = &self->rx, .tx = self->side ? self->tx : NULL, .polls = &self->polls[1]})), 0);
        CRT_AWAIT(self->r = crt_join(cx, &self->second, &self->result));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(self->result, CRT_EBUSY);
        crt_abort(self->first);
        CRT_AWAIT(self->r = crt_join(cx, &self->first, NULL));
        CHECK_EQ(self->r, CRT_ECANCELED);
        CHECK_EQ(crt_spawn_join(cx, &self->third, waits_run,
            (&(waits){.rx = &self->rx, .tx = self->side ? self->tx : NULL, .polls = &self->polls[2]})), 0);
        while (!__atomic_load_n(&self->polls[2], __ATOMIC_SEQ_CST)) CRT_YIELD();
        if (self->side) crt_oneshot_rx_drop(&self->rx);
        else CHECK_EQ(crt_oneshot_send(&self->tx, &(int){5}), 0);
        CRT_AWAIT(self->r = crt_join(cx, &self->third, &self->result));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(self->result, self->side ? 100 : 105);
        crt_oneshot_tx_drop(&self->tx);
        CHECK(!self->rx);
    }
    CRT_END;
}
static void the_wait_moves_to_another_task(crt_runtime *rt)
{
    moves m = {0};
    test_log_clear();
    CHECK_EQ(crt_block_on(rt, moves_run, &m), 0);
}

typedef struct far_end {
    crt_frame co;
    crt_oneshot_rx *rx;
} far_end;
static crt_poll far_end_run(void *frame, crt_cx *cx)
{
    far_end *self = frame;
    CRT_BEGIN(self, cx);
    CRT_FINALLY
        crt_oneshot_rx_drop(&self->rx);
    CRT_END;
}
static crt_poll near_end_run(void *frame, crt_cx *cx)
{
    moves *self = frame;
    CRT_BEGIN(self, cx);
    make_ints(&self->tx, &self->rx);
    CHECK_EQ(crt_spawn(cx, far_end_run, (&(far_end){.rx = self->rx})), 0);
    CRT_AWAIT(self->r = crt_oneshot_closed(cx, self->tx));
    CHECK_EQ(self->r, 0);
    CRT_FINALLY
        crt_oneshot_tx_drop(&self->tx);
    CRT_END;
}
static void the_end_comes_from_another_task(crt_runtime *rt)
{
    for (int i = 0; i < 50; i++) {
        moves m = {0};
        CHECK_EQ(crt_block_on(rt, near_end_run, &m), 0);
    }
}

// --- elements

BODY(a_value_that_nobody_received_is_released_once)
{
    POLLS;
    // 0 receiver drops, 1 closes and drops, 2 receives, 3 was gone before the send,
    // 4 closed before the send, 5 nothing sent, 6 dropped while a cancelled recv had it
    for (int how = 0; how < 7; how++) {
        crt_oneshot_tx *tx;
        crt_oneshot_rx *rx;
        crt_slot r = {0};
        things_forget();
        thing t = thing_make(how), out = {0};
        CHECK_EQ(crt_oneshot_new(sizeof t, &tx, &rx), 0);
        crt_oneshot_on_drop(rx, thing_drop, &things_alive);
        if (how == 3) crt_oneshot_rx_drop(&rx);
        if (how == 4) crt_oneshot_rx_close(rx);
        if (how == 6) CHECK_EQ(AT(r, crt_oneshot_recv(cx, &rx, &out)), PENDING);
        bool refused = how == 3 || how == 4;
        if (how == 5) {
            crt_oneshot_tx_drop(&tx);
            thing_release(t);
        } else {
            CHECK_EQ(crt_oneshot_send(&tx, &t), refused ? CRT_ECLOSED : 0);
        }
        if (refused) thing_release(t);   // it stays with the caller
        if (how == 6) CHECK_EQ(CANCEL(r, crt_oneshot_recv(cx, &rx, &out)), UNWIND);
        if (how == 1) crt_oneshot_rx_close(rx);
        if (how == 2) {
            CHECK_EQ(crt_oneshot_try_recv(&rx, &out), 0);
            CHECK_EQ(thing_release(out), how);
        }
        crt_oneshot_rx_drop(&rx);
        CHECK_EQ(things_alive, 0);
        CHECK_EQ(things_dropped[how], how == 0 || how == 1 || how == 6);
    }
}
BODY(elements_of_any_size)
{
    POLLS;
    static const size_t sizes[] = {0, 1, 3, 16, 100000, 1 << 20};
    unsigned char *in = malloc(1 << 20), *out = malloc(1 << 20);
    crt_oneshot_tx *tx;
    crt_oneshot_rx *rx;
    crt_slot r = {0};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        CHECK_EQ(crt_oneshot_new(sizes[k], &tx, &rx), 0);
        memset(in, (int)k + 1, 1 << 20);
        memset(out, 0xEE, 1 << 20);
        CHECK_EQ(crt_oneshot_send(&tx, in), 0);
        CHECK_EQ(AT(r, crt_oneshot_recv(cx, &rx, out)), 0);
        CHECK(!memcmp(in, out, sizes[k]));
        if (sizes[k] < 1 << 20) CHECK_EQ(out[sizes[k]], 0xEE);
    }
    free(in);
    free(out);
    CHECK_EQ(crt_oneshot_new((1 << 20) + 1, &tx, &rx), CRT_EINVAL);
    CHECK(!tx && !rx);
    memory_fails_at = 0;
    CHECK_EQ(crt_oneshot_new(8, &tx, &rx), CRT_ENOMEM);
    memory_fails_at = -1;
    CHECK(!tx && !rx);
    crt_oneshot_tx_drop(&tx);
    crt_oneshot_rx_drop(&rx);
    crt_oneshot_tx_drop(NULL);
    crt_oneshot_rx_drop(NULL);
}

// --- threads

BODY(blocking_is_refused_inside_a_task)
{
    crt_oneshot_tx *tx;
    crt_oneshot_rx *rx;
    int v = 0;
    (void)cx;
    make_ints(&tx, &rx);
    CHECK_EQ(crt_oneshot_send(&tx, &(int){3}), 0);
    CHECK_EQ(crt_oneshot_blocking_recv(&rx, &v), CRT_ENESTED);
    CHECK_EQ(try_int(&rx), 3);   // nothing was taken
}
typedef struct thread_end {
    crt_oneshot_tx *tx;
    crt_oneshot_rx *rx;
    int what, r, v;   // what: 0 send, 1 drop, 2 close and try_recv, 3 drop the receiver
} thread_end;
static void *thread_end_run(void *arg)
{
    thread_end *t = arg;
    if (t->what == 0) t->r = crt_oneshot_send(&t->tx, &t->v);
    if (t->what == 1) crt_oneshot_tx_drop(&t->tx);
    if (t->what == 2) {
        crt_oneshot_rx_close(t->rx);
        t->r = crt_oneshot_try_recv(&t->rx, &t->v);
    }
    if (t->what == 3) crt_oneshot_rx_drop(&t->rx);
    return NULL;
}
static void plain_threads(void)
{
    for (int i = 0; i < 100; i++) {
        thread_end t = {.what = i & 1, .v = i};
        crt_oneshot_rx *rx;
        pthread_t id;
        int v = -1;
        make_ints(&t.tx, &rx);
        CHECK_EQ(pthread_create(&id, NULL, thread_end_run, &t), 0);
        CHECK_EQ(crt_oneshot_blocking_recv(&rx, &v), t.what ? CRT_ECLOSED : 0);
        CHECK_EQ(v, t.what ? -1 : i);
        CHECK(!rx);
        pthread_join(id, NULL);
    }
}
// The send and the receiver's end at the same moment: the value is received, released or
// stays with the sender, one of them.
static void racing_ends(void)
{
    for (int i = 0; i < 200; i++) {
        thread_end t = {.what = 3};
        crt_oneshot_tx *tx;
        pthread_t id;
        things_forget();
        thing in = thing_make(1);
        CHECK_EQ(crt_oneshot_new(sizeof(thing), &tx, &t.rx), 0);
        crt_oneshot_on_drop(t.rx, thing_drop, &things_alive);
        CHECK_EQ(pthread_create(&id, NULL, thread_end_run, &t), 0);
        int r = crt_oneshot_send(&tx, &in);
        CHECK(r == 0 || r == CRT_ECLOSED);
        pthread_join(id, NULL);
        if (r) thing_release(in);
        CHECK_EQ(things_dropped[1], r == 0);
        CHECK_EQ(things_alive, 0);
    }
    for (int i = 0; i < 200; i++) {   // closing against sending
        thread_end t = {.what = 2};
        crt_oneshot_tx *tx;
        pthread_t id;
        make_ints(&tx, &t.rx);
        CHECK_EQ(pthread_create(&id, NULL, thread_end_run, &t), 0);
        int r = crt_oneshot_send(&tx, &(int){9});
        pthread_join(id, NULL);
        CHECK_EQ(t.r, r);   // both say the same
        CHECK_EQ(t.v, r ? 0 : 9);
        CHECK(!t.rx);
    }
}

int main(int argc, char **argv)
{
    static const crt_config quiet = {.log = {test_log, NULL, 0}};
    test_init(argc, argv);
    TEST_ON_EACH(the_sender_hears_of_the_end);
    TEST_ON_EACH(a_closed_receiver_still_gets_what_was_sent);
    TEST_ON_EACH(a_receiver_ends_once);
    TEST_ON_EACH(dropping_both_sides_lets_go_of_waiting_tasks);
    test__on_each("the_wait_moves_to_another_task", the_wait_moves_to_another_task, &quiet);
    TEST_ON_EACH(the_end_comes_from_another_task);
    TEST_ON_EACH(a_value_that_nobody_received_is_released_once);
    TEST_ON_EACH(elements_of_any_size);
    TEST_ON_EACH(blocking_is_refused_inside_a_task);
    TEST(plain_threads);
    TEST(racing_ends);
    return test_end();
}
