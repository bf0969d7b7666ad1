// Every wait on a channel, cancelled at every moment in every way: nothing is lost. Then
// what a wait costs of the budget, runtimes that end or share a channel, and threads.
//
// One table describes the thirteen waits: how to make one park, and what ends it. The
// victim waits first, the next one behind it (or after it, where one waits at a time).
// Whatever befalls the victim, what it did not take goes to the next.
//   when:  before it parks, parked, half granted (reserve_many), granted and not yet polled
//   how:   crt_abort from the same worker, from another thread, a lost select, a timeout,
//          a runtime that ends by its deadline
// Of Tokio's: receiver_recv_is_cooperative, receiver_changed_is_cooperative(_ok),
// receiver_wait_for_is_cooperative(_ok), sender_closed_is_cooperative, coop_budget_udp_send_recv
// (its count, for channels) -> a_hot_channel_lets_its_neighbour_run.
#define CRT_ALLOW_BARE_POLLS
#include "channels.h"

// --- the waits

enum { VICTIM, NEXT };
typedef struct world {
    const struct a_wait *wait;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_oneshot_tx *otx;
    crt_oneshot_rx *orx;
    crt_broadcast_tx *btx;
    crt_broadcast_rx *brx;
    crt_watch_tx *wtx;
    crt_watch_rx *wrx;
    thing elem[2], out[2][2];   // by who: to send; received
    int parked[2], got[2];      // atomic
    int exhaust;                // atomic: the victim polls without any budget left
} world;
typedef struct a_wait {
    const char *name;
    void (*open)(world *w);
    crt_poll (*poll)(crt_cx *cx, world *w, int who);
    void (*grant)(world *w);                        // ends one wait, or all
    void (*settle)(world *w, int who, crt_poll r);  // it has ended well
    bool all;     // what ends one ends all
    bool alone;   // one at a time
    bool once;    // nothing to wait for afterwards
    bool half;    // grant twice
} a_wait;

static void open_mpsc(world *w, size_t capacity, int fill)
{
    CHECK_EQ(crt_mpsc_new(sizeof(thing), capacity, &w->tx, &w->rx), 0);
    crt_mpsc_on_drop(w->rx, thing_drop, &things_alive);
    for (int i = 0; i < fill; i++) CHECK_EQ(crt_mpsc_try_send(w->tx, &(thing[1]){thing_make(100 + i)}), 0);
}
static void open_full(world *w) { open_mpsc(w, 1, 1); }
static void open_full_of_two(world *w) { open_mpsc(w, 2, 2); }
static void open_empty(world *w) { open_mpsc(w, 4, 0); }
static void take_one(world *w)
{
    thing t;
    if (crt_mpsc_try_recv(w->rx, &t) == 0) thing_release(t);
    else CHECK(!"room can be made");
}
static void give_one(world *w) { CHECK_EQ(crt_mpsc_try_send(w->tx, &(thing[1]){thing_make(50)}), 0); }
static void give_two(world *w)
{
    give_one(w);
    give_one(w);
}
static void end_mpsc(world *w) { crt_mpsc_rx_drop(&w->rx); }
static crt_poll poll_send(crt_cx *cx, world *w, int who) { return crt_mpsc_send(cx, w->tx, &w->elem[who]); }
static crt_poll poll_reserve(crt_cx *cx, world *w, int who) { return (void)who, crt_mpsc_reserve(cx, w->tx); }
static crt_poll poll_reserve_two(crt_cx *cx, world *w, int who) { return (void)who, crt_mpsc_reserve_many(cx, w->tx, 2); }
static crt_poll poll_recv(crt_cx *cx, world *w, int who) { return crt_mpsc_recv(cx, w->rx, w->out[who]); }
static crt_poll poll_recv_many(crt_cx *cx, world *w, int who) { return crt_mpsc_recv_many(cx, w->rx, w->out[who], 2); }
static crt_poll poll_mpsc_closed(crt_cx *cx, world *w, int who) { return (void)who, crt_mpsc_closed(cx, w->tx); }
static void settle_none(world *w, int who, crt_poll r) 
{
    (void)w;
    (void)who;
    CHECK_EQ(r, 0);
}
static void settle_reserve(world *w, int who, crt_poll r)
{
    CHECK_EQ(r, 0);
    CHECK_EQ(crt_mpsc_send_reserved(w->tx, &(thing[1]){thing_make(60 + who)}), 0);
}
static void settle_reserve_two(world *w, int who, crt_poll r)
{
    settle_reserve(w, who, r);
    settle_reserve(w, who, r);
}
static void settle_recv(world *w, int who, crt_poll r)
{
    CHECK_EQ(r, 0);
    thing_release(w->out[who][0]);
}
static void settle_recv_many(world *w, int who, crt_poll r)
{
    CHECK(r == 1 || r == 2);
    for (int i = 0; i < r; i++) thing_release(w->out[who][i]);
}
static void open_oneshot(world *w)
{
    CHECK_EQ(crt_oneshot_new(sizeof(thing), &w->otx, &w->orx), 0);
    crt_oneshot_on_drop(w->orx, thing_drop, &things_alive);
}
static void answer(world *w) { CHECK_EQ(crt_oneshot_send(&w->otx, &(thing[1]){thing_make(51)}), 0); }
static void end_oneshot(world *w) { crt_oneshot_rx_drop(&w->orx); }
static crt_poll poll_oneshot(crt_cx *cx, world *w, int who) { return crt_oneshot_recv(cx, &w->orx, w->out[who]); }
static crt_poll poll_oneshot_closed(crt_cx *cx, world *w, int who) { return (void)who, crt_oneshot_closed(cx, w->otx); }
static void open_broadcast(world *w)
{
    CHECK_EQ(crt_broadcast_new(sizeof(thing), 2, &w->btx), 0);
    crt_broadcast_set_ops(w->btx, &thing_ops);
    CHECK_EQ(crt_broadcast_subscribe(w->btx, &w->brx), 0);
}
static void cast(world *w) { CHECK_EQ(crt_broadcast_send(w->btx, &(thing[1]){thing_make(52)}), 1); }
static void end_broadcast(world *w) { crt_broadcast_rx_drop(&w->brx); }
static crt_poll poll_broadcast(crt_cx *cx, world *w, int who) { return crt_broadcast_recv(cx, w->brx, w->out[who], NULL); }
static crt_poll poll_broadcast_closed(crt_cx *cx, world *w, int who) { return (void)who, crt_broadcast_closed(cx, w->btx); }
static void open_watch(world *w)
{
    CHECK_EQ(crt_watch_new(sizeof(thing), &(thing[1]){thing_make(1)}, &w->wtx, &w->wrx), 0);
    crt_watch_set_ops(w->wtx, &thing_ops);
}
static bool is_news(const void *elem, void *user) { return (void)user, ((const thing *)elem)->id == 53; }
static void say(world *w) { CHECK_EQ(crt_watch_send(w->wtx, &(thing[1]){thing_make(53)}), 0); }
static void end_watch(world *w) { crt_watch_rx_drop(&w->wrx); }
static crt_poll poll_changed(crt_cx *cx, world *w, int who) { return (void)who, crt_watch_changed(cx, w->wrx); }
static crt_poll poll_wait_for(crt_cx *cx, world *w, int who) { return crt_watch_wait_for(cx, w->wrx, is_news, NULL, w->out[who]); }
static crt_poll poll_watch_closed(crt_cx *cx, world *w, int who) { return (void)who, crt_watch_closed(cx, w->wtx); }

static const a_wait waits[] = {
    {"mpsc send", open_full, poll_send, take_one, settle_none, false, false, false, false},
    {"mpsc reserve", open_full, poll_reserve, take_one, settle_reserve, false, false, false, false},
    {"mpsc reserve_many", open_full_of_two, poll_reserve_two, take_one, settle_reserve_two, false, false, false, true},
    {"mpsc recv", open_empty, poll_recv, give_one, settle_recv, false, true, false, false},
    {"mpsc recv_many", open_empty, poll_recv_many, give_two, settle_recv_many, false, true, false, false},
    {"mpsc closed", open_empty, poll_mpsc_closed, end_mpsc, settle_none, true, false, false, false},
    {"oneshot recv", open_oneshot, poll_oneshot, answer, settle_recv, false, true, true, false},
    {"oneshot closed", open_oneshot, poll_oneshot_closed, end_oneshot, settle_none, true, true, false, false},
    {"broadcast recv", open_broadcast, poll_broadcast, cast, settle_recv, false, true, false, false},
    {"broadcast closed", open_broadcast, poll_broadcast_closed, end_broadcast, settle_none, true, false, false, false},
    {"watch changed", open_watch, poll_changed, say, settle_none, false, true, false, false},
    {"watch wait_for", open_watch, poll_wait_for, say, settle_recv, true, true, false, false},
    {"watch closed", open_watch, poll_watch_closed, end_watch, settle_none, true, false, false, false},
};
enum { WAITS = sizeof waits / sizeof waits[0] };

static void world_open(world *w, const a_wait *kind)
{
    memset(w, 0, sizeof *w);
    things_forget();
    w->wait = kind;
    for (int who = 0; who < 2; who++) w->elem[who] = thing_make(10 + who);
    kind->open(w);
}
// Everything goes; what was sent or received is accounted for, and no element is left.
static void world_close(world *w)
{
    bool sends = w->wait->poll == poll_send;
    thing t;
    for (int who = 0; who < 2; who++)
        if (!sends || !w->got[who]) thing_release(w->elem[who]);
    if (w->tx && !crt_mpsc_is_closed(w->tx)) {   // every permit has come back
        while (crt_mpsc_try_recv(w->rx, &t) == 0) thing_release(t);
        CHECK_EQ(crt_mpsc_capacity(w->tx), crt_mpsc_max_capacity(w->tx));
    }
    crt_mpsc_tx_drop(&w->tx);
    if (w->rx) CHECK_EQ(crt_mpsc_try_recv(w->rx, &t), CRT_ECLOSED);
    crt_mpsc_rx_drop(&w->rx);
    crt_oneshot_tx_drop(&w->otx);
    crt_oneshot_rx_drop(&w->orx);
    crt_broadcast_tx_drop(&w->btx);
    crt_broadcast_rx_drop(&w->brx);
    crt_watch_tx_drop(&w->wtx);
    crt_watch_rx_drop(&w->wrx);
    CHECK_EQ(things_alive, 0);
}
static void world_grant(world *w)
{
    w->wait->grant(w);
    if (w->wait->half) w->wait->grant(w);
}
static crt_poll world_poll(crt_cx *cx, world *w, int who)
{
    if (who == VICTIM && __atomic_load_n(&w->exhaust, __ATOMIC_SEQ_CST))
        while (crt_coop_budget(cx)) (void)crt_consume_budget(cx);
    crt_poll r = w->wait->poll(cx, w, who);
    if (r >= 0) {
        w->wait->settle(w, who, r);
        __atomic_store_n(&w->got[who], 1, __ATOMIC_SEQ_CST);
    } else if (r == CRT_PENDING) {
        __atomic_store_n(&w->parked[who], 1, __ATOMIC_SEQ_CST);
    }
    return r;
}
static bool is_parked(world *w, int who) { return __atomic_load_n(&w->parked[who], __ATOMIC_SEQ_CST); }

// --- who waits

typedef struct waiter {
    crt_frame co;
    world *w;
    int who;
    bool flip;
    crt_notify *stop;
    crt_duration limit;
    crt_timer timer;
    CRT_SELECT(2) sel;
    crt_poll r, k, s;
} waiter;
// By hand, without CRT_BEGIN: the wait itself meets a cancellation that came before it.
static crt_poll plain_run(void *frame, crt_cx *cx)
{
    waiter *self = frame;
    crt_poll r = world_poll(cx, self->w, self->who);
    return r > 0 ? 0 : r;
}
enum { STOPPED = 7, TIMED_OUT = 8, DONE = 9 };
static crt_poll select_run(void *frame, crt_cx *cx)
{
    waiter *self = frame;
    CRT_BEGIN(self, cx);
    if (self->flip) {   // parks, and loses in the same poll
        CRT_AWAIT(self->k = crt_select_biased(cx, &self->sel,
            crt_on(cx, 0, self->r = world_poll(cx, self->w, self->who)),
            crt_on(cx, 1, self->s = crt_notified(cx, self->stop))));
        CRT_RETURN(self->k == 1 ? STOPPED : DONE);
    }
    CRT_AWAIT(self->k = crt_select_biased(cx, &self->sel,
        crt_on(cx, 0, self->s = crt_notified(cx, self->stop)),
        crt_on(cx, 1, self->r = world_poll(cx, self->w, self->who))));
    CRT_RETURN(self->k == 0 ? STOPPED : DONE);
    CRT_END;
}
static crt_poll timeout_run(void *frame, crt_cx *cx)
{
    waiter *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, self->limit, world_poll(cx, self->w, self->who)));
    CRT_RETURN(self->r == CRT_ETIMEDOUT ? TIMED_OUT : DONE);
    CRT_END;
}

// --- the matrix: one cell is one run on a current-thread runtime with a virtual clock

enum { BEFORE, PARKED, HALF, GRANTED, WHENS };
enum { ABORT_HERE, ABORT_THREAD, LOSE, TIMEOUT, HOWS };
static void *abort_from_thread(void *arg)
{
    crt_abort(arg);
    return NULL;
}
typedef struct cell {
    crt_frame co;
    world w;
    int when, how;
    crt_notify stop;
    crt_join_handle *victim, *next;
    crt_timer timer;
    intptr_t result;
    crt_poll r;
} cell;
static void cell_cancel(cell *c, crt_cx *cx)
{
    pthread_t id;
    switch (c->how) {
    case ABORT_HERE: crt_abort(c->victim); break;
    case ABORT_THREAD:
        CHECK_EQ(pthread_create(&id, NULL, abort_from_thread, c->victim), 0);
        pthread_join(id, NULL);
        break;
    case LOSE: crt_notify_one(&c->stop); break;
    case TIMEOUT:
        // The grant and the limit at once: the grant would win, if the victim had a budget.
        if (c->when == GRANTED) CHECK_EQ(crt_time_advance(cx->rt, CRT_MS(20)), 0);
        break;
    }
}
static crt_poll cell_run(void *frame, crt_cx *cx)
{
    cell *self = frame;
    CRT_BEGIN(self, cx);
    if (self->when == BEFORE && self->how == LOSE) crt_notify_one(&self->stop);
    CHECK_EQ(crt_spawn_join(cx, &self->victim,
        self->how == LOSE ? select_run : self->how == TIMEOUT ? timeout_run : plain_run,
        (&(waiter){.w = &self->w, .who = VICTIM, .stop = &self->stop, .flip = self->when == BEFORE,
                   .limit = self->when == BEFORE ? 0 : CRT_MS(10)})), 0);
    if (self->when == BEFORE) {
        if (self->how < LOSE) cell_cancel(self, cx);
    } else {
        while (!is_parked(&self->w, VICTIM)) CRT_YIELD();
    }
    if (!self->w.wait->alone) {
        CHECK_EQ(crt_spawn_join(cx, &self->next, plain_run, (&(waiter){.w = &self->w, .who = NEXT})), 0);
        while (!is_parked(&self->w, NEXT)) CRT_YIELD();
    }
    if (self->when == HALF) self->w.wait->grant(&self->w);
    if (self->when == GRANTED) {
        world_grant(&self->w);
        self->w.exhaust = self->how == TIMEOUT;
    }
    if (self->when != BEFORE) cell_cancel(self, cx);
    CRT_AWAIT(self->r = crt_join(cx, &self->victim, &self->result));
    self->w.exhaust = false;
    if (self->how < LOSE) CHECK_EQ(self->r, CRT_ECANCELED);
    else CHECK_EQ(self->r ? self->r : self->result, self->how == LOSE ? STOPPED : TIMED_OUT);
    CHECK(!self->w.got[VICTIM]);
    if (self->when == HALF) {
        CHECK(!self->w.got[NEXT]);
        self->w.wait->grant(&self->w);
    } else if (self->when != GRANTED) {
        CHECK(!self->w.got[NEXT]);
        world_grant(&self->w);
    }
    if (self->w.wait->alone)
        CHECK_EQ(crt_spawn_join(cx, &self->next, plain_run, (&(waiter){.w = &self->w, .who = NEXT})), 0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(5), crt_join(cx, &self->next, NULL)));
    CHECK_EQ(self->r, 0);
    CHECK(self->w.got[NEXT]);
    CRT_END;
}
static crt_runtime *paused(void)
{
    crt_runtime *rt = NULL;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .start_paused = true, .seed = 5,
                                           .log = {test_log, NULL, 0}}, &rt), 0);
    return rt;
}
static void every_wait_cancelled_at_every_moment(void)
{
    static const char *const whens[] = {"before", "parked", "half granted", "granted"};
    static const char *const hows[] = {"abort", "abort from a thread", "select", "timeout"};
    crt_runtime *rt = paused();
    int cells = 0;
    for (int i = 0; i < WAITS; i++)
        for (int when = 0; when < WHENS; when++)
            for (int how = 0; how < HOWS; how++) {
                static cell c;
                int bad = test__bad;
                if (when == HALF && !waits[i].half) continue;
                memset(&c, 0, sizeof c);
                c.when = when;
                c.how = how;
                world_open(&c.w, &waits[i]);
                CHECK_EQ(crt_block_on(rt, cell_run, &c), 0);
                world_close(&c.w);
                if (test__bad != bad) fprintf(stderr, "    in the cell: %s, %s, %s\n", waits[i].name, whens[when], hows[how]);
                cells++;
            }
    CHECK_EQ(cells, 13 * 3 * 4 + 4);
    crt_runtime_drop(&rt);
}

// --- the same as a race: the grant here, the cancellation on another worker

typedef struct canceller {
    crt_frame co;
    crt_abort_handle *abort;
    crt_notify *stop;
    int spin;
} canceller;
static void spin_for(int n)
{
    for (int i = 0; i < n; i++) crt__cpu_relax();
}
static crt_poll canceller_run(void *frame, crt_cx *cx)
{
    canceller *self = frame;
    CRT_BEGIN(self, cx);
    spin_for(self->spin);
    if (self->abort) crt_abort_handle_abort(self->abort);
    else crt_notify_one(self->stop);
    CRT_FINALLY
        crt_abort_handle_drop(&self->abort);
    CRT_END;
}
typedef struct race {
    crt_frame co;
    world w;
    bool select;
    int spin[2];
    crt_notify stop;
    crt_join_handle *victim, *next, *other;
    intptr_t result;
    crt_poll r;
} race;
static crt_poll race_run(void *frame, crt_cx *cx)
{
    race *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_join(cx, &self->victim, self->select ? select_run : plain_run,
        (&(waiter){.w = &self->w, .who = VICTIM, .stop = &self->stop})), 0);
    while (!is_parked(&self->w, VICTIM)) CRT_YIELD();
    if (!self->w.wait->alone) {
        CHECK_EQ(crt_spawn_join(cx, &self->next, plain_run, (&(waiter){.w = &self->w, .who = NEXT})), 0);
        while (!is_parked(&self->w, NEXT)) CRT_YIELD();
    }
    CHECK_EQ(crt_spawn_join(cx, &self->other, canceller_run,
        (&(canceller){.abort = self->select ? NULL : crt_join_abort_handle(self->victim), .stop = &self->stop,
                      .spin = self->spin[0]})), 0);
    if (self->spin[1] & 1) CRT_YIELD();
    spin_for(self->spin[1]);
    world_grant(&self->w);
    CRT_AWAIT(self->r = crt_join(cx, &self->victim, &self->result));
    CHECK(self->r == 0 || self->r == CRT_ECANCELED);
    CRT_AWAIT(self->r = crt_join(cx, &self->other, NULL));
    CHECK_EQ(self->r, 0);
    if (self->w.got[VICTIM] && !self->w.wait->all && !self->w.wait->once) world_grant(&self->w);
    if (self->w.wait->alone && !(self->w.wait->once && self->w.got[VICTIM]))
        CHECK_EQ(crt_spawn_join(cx, &self->next, plain_run, (&(waiter){.w = &self->w, .who = NEXT})), 0);
    if (self->next) {
        CRT_AWAIT(self->r = crt_join(cx, &self->next, NULL));
        CHECK_EQ(self->r, 0);
        CHECK(self->w.got[NEXT]);
    }
    CRT_END;
}
static void every_wait_cancelled_while_it_is_granted(crt_runtime *rt)
{
    uint64_t seed = 7;
    int won[2] = {0, 0};
    for (int i = 0; i < WAITS; i++)
        for (int round = 0; round < 60; round++) {
            static race c;
            int bad = test__bad;
            memset(&c, 0, sizeof c);
            c.select = round & 1;
            for (int k = 0; k < 2; k++) c.spin[k] = (int)(crt__random(&seed) % 300);
            world_open(&c.w, &waits[i]);
            CHECK_EQ(crt_block_on(rt, race_run, &c), 0);
            won[c.w.got[VICTIM] != 0]++;
            world_close(&c.w);
            if (test__bad != bad) {
                fprintf(stderr, "    in the race: %s, %s\n", waits[i].name, c.select ? "select" : "abort");
                return;
            }
        }
    CHECK_EQ(won[0] + won[1], WAITS * 60);
}

// --- a runtime that ends by its deadline, with a task parked here that does not let go

typedef struct stubborn {
    crt_frame co;
    world *w;
    crt_notify *never;
    int *started;
    crt_poll r;
} stubborn;
static crt_poll stubborn_run(void *frame, crt_cx *cx)
{
    stubborn *self = frame;
    CRT_BEGIN(self, cx);
    __atomic_store_n(self->started, 1, __ATOMIC_SEQ_CST);
    CRT_AWAIT(self->r = crt_notified(cx, self->never));
    CRT_FINALLY
        CRT_AWAIT(self->r = world_poll(cx, self->w, VICTIM));   // cleanup that waits
    CRT_END;
}
static void drive(crt_runtime *rt, const int *until)
{
    while (!__atomic_load_n(until, __ATOMIC_SEQ_CST))
        if (crt_runtime_turn(rt, 0) == CRT_EINVAL) test_pause_us(50);   // other threads drive it
}
// granted: 0 not, 1 and it may be polled once more, 2 and it is polled for nothing, with no
// budget, until the deadline has come.
static void force_ended(int flavor, const a_wait *kind, int granted)
{
    crt_runtime *ending, *living;
    crt_handle *h, *other;
    crt_join_handle *join, *next = NULL;
    crt_notify never = {0};
    int started = 0;
    static world w;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = flavor, .worker_threads = flavor == CRT_MULTI_THREAD ? 2 : 1, .log = {test_log, NULL, 0}}, &ending), 0);
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &living), 0);
    h = crt_runtime_handle(ending);
    other = crt_runtime_handle(living);
    world_open(&w, kind);
    CHECK_EQ(crt_handle_spawn_join(h, &join, stubborn_run, (&(stubborn){.w = &w, .never = &never, .started = &started})), 0);
    drive(ending, &started);
    crt_abort(join);
    drive(ending, &w.parked[VICTIM]);
    if (!kind->alone) {   // the next waits in the other runtime
        CHECK_EQ(crt_handle_spawn_join(other, &next, plain_run, (&(waiter){.w = &w, .who = NEXT})), 0);
        drive(living, &w.parked[NEXT]);
    }
    __atomic_store_n(&w.exhaust, granted == 2, __ATOMIC_SEQ_CST);
    if (granted) world_grant(&w);
    int left = crt_runtime_shutdown(ending, CRT_MS(2));
    // A worker that was put aside for longer than the shutdown waits ends the task later.
    (void)crt_join_blocking(&join, NULL);
    CHECK(left == !w.got[VICTIM] || left == 1);
    CHECK(!(w.got[VICTIM] && granted != 1));
    crt_handle_drop(&h);
    crt_runtime_drop(&ending);
    if (!granted || (w.got[VICTIM] && !kind->all && !kind->once)) world_grant(&w);
    if (kind->alone && !(kind->once && w.got[VICTIM]))
        CHECK_EQ(crt_handle_spawn_join(other, &next, plain_run, (&(waiter){.w = &w, .who = NEXT})), 0);
    if (next) {
        drive(living, &w.got[NEXT]);
        crt_detach(&next);
    }
    crt_handle_drop(&other);
    crt_runtime_drop(&living);
    world_close(&w);
}
static void a_runtime_that_is_force_ended_leaves_nothing_behind(void)
{
    long before = __atomic_load_n(&memory_live, __ATOMIC_SEQ_CST);
    for (int i = 0; i < WAITS; i++)
        for (int granted = 0; granted < 3; granted++)
            for (int flavor = 0; flavor < 2; flavor++) {
                int bad = test__bad;
                force_ended(flavor, &waits[i], granted);
                if (test__bad != bad) fprintf(stderr, "    with: %s%s\n", waits[i].name, granted ? ", granted" : ", parked");
            }
    // A late worker frees the last of its runtime when it gets round to it.
    for (int ms = 0; ms < 10000 && __atomic_load_n(&memory_live, __ATOMIC_SEQ_CST) != before; ms++) usleep(1000);
    CHECK_EQ(__atomic_load_n(&memory_live, __ATOMIC_SEQ_CST), before);
}

// --- budget

// A wait that parks costs nothing, one that ends costs one, and one that has been granted
// what it wants keeps it while the budget is used up.
BODY(what_a_wait_costs)
{
    for (int i = 0; i < WAITS; i++) {
        world w;
        crt_slot s = {0}, *held = cx->slot;
        int bad = test__bad;
        world_open(&w, &waits[i]);
        cx->slot = &s;
        cx->budget = 100;
        CHECK_EQ(world_poll(cx, &w, VICTIM), CRT_PENDING);
        CHECK_EQ(crt_coop_budget(cx), 100);
        CHECK_EQ(world_poll(cx, &w, VICTIM), CRT_PENDING);   // polled for nothing
        CHECK_EQ(crt_coop_budget(cx), 100);
        world_grant(&w);
        cx->budget = 0;
        CHECK_EQ(world_poll(cx, &w, VICTIM), CRT_PENDING);
        CHECK(!w.got[VICTIM]);
        cx->budget = 100;
        CHECK(world_poll(cx, &w, VICTIM) >= 0);
        CHECK_EQ(crt_coop_budget(cx), 99);
        CHECK(!s.op);
        cx->slot = held;
        cx->budget = 128;
        world_close(&w);
        if (test__bad != bad) fprintf(stderr, "    with: %s\n", waits[i].name);
    }
}

// Operations that never have to wait.
typedef struct hot {
    crt_frame co;
    int kind, i, most, streak;
    int *ticks, seen, v[4];
    crt_mpsc_tx *tx, *full;
    crt_mpsc_rx *rx, *rx_full;
    crt_oneshot_tx *otx;
    crt_oneshot_rx *orx;
    crt_broadcast_tx *btx;
    crt_broadcast_rx *brx;
    crt_watch_tx *wtx;
    crt_watch_rx *wrx;
    crt_join_handle *neighbour;
    crt_poll r;
} hot;
static bool yes(const void *elem, void *user) { return (void)elem, (void)user, true; }
static bool no(const void *elem, void *user) { return (void)elem, (void)user, false; }
enum { HOT_KINDS = 14, HOT_ROUNDS = 128 * 20 };
// Makes the next operation ready by what costs no budget, when nothing is under way.
static void hot_ready(hot *h)
{
    int v = 1;
    if (h->kind == 2 || h->kind == 3) CHECK_EQ(crt_mpsc_try_send(h->tx, &v), 0);
    if (h->kind == 4) {
        CHECK_EQ(crt_oneshot_new(sizeof v, &h->otx, &h->orx), 0);
        CHECK_EQ(crt_oneshot_send(&h->otx, &v), 0);
    }
    if (h->kind == 5) CHECK_EQ(crt_broadcast_send(h->btx, &v), 1);
    if (h->kind == 6 || h->kind == 7) CHECK_EQ(crt_watch_send(h->wtx, &v), 0);
}
static crt_poll hot_poll(hot *h, crt_cx *cx)
{
    switch (h->kind) {
    case 0: return crt_mpsc_send(cx, h->tx, h->v);
    case 1: return crt_mpsc_reserve(cx, h->tx);
    case 2: return crt_mpsc_recv(cx, h->rx, h->v);
    case 3: return crt_mpsc_recv_many(cx, h->rx, h->v, 4);
    case 4: return crt_oneshot_recv(cx, &h->orx, h->v);
    case 5: return crt_broadcast_recv(cx, h->brx, h->v, NULL);
    case 6: return crt_watch_changed(cx, h->wrx);
    case 7: return crt_watch_wait_for(cx, h->wrx, yes, NULL, h->v);
    // What has ended for good costs its budget too.
    case 8: return crt_mpsc_send(cx, h->full, h->v);
    case 9: return crt_mpsc_closed(cx, h->full);
    case 10: return crt_broadcast_closed(cx, h->btx);
    case 11: return crt_watch_closed(cx, h->wtx);
    case 12: return crt_watch_changed(cx, h->wrx);
    default: return crt_watch_wait_for(cx, h->wrx, no, NULL, h->v);
    }
}
static crt_poll tick_run(void *frame, crt_cx *cx)
{
    hot *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        ++*self->ticks;
        CRT_YIELD();
    }
    CRT_END;
}
static crt_poll hot_run(void *frame, crt_cx *cx)
{
    hot *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_join(cx, &self->neighbour, tick_run, (&(hot){.ticks = self->ticks})), 0);
    CRT_YIELD();
    self->seen = *self->ticks;
    for (self->i = 0; self->i < HOT_ROUNDS; self->i++) {
        hot_ready(self);
        CRT_AWAIT(self->r = hot_poll(self, cx));
        if (self->kind < 8) CHECK(self->r >= 0);
        if (self->kind == 0) CHECK_EQ(crt_mpsc_try_recv(self->rx, self->v), 0);
        if (self->kind == 1) crt_mpsc_unreserve(self->tx);
        self->streak = *self->ticks == self->seen ? self->streak + 1 : 1;
        self->seen = *self->ticks;
        if (self->streak > self->most) self->most = self->streak;
    }
    CHECK_EQ(self->most, 128);   // neither less nor more in one go
    CHECK(*self->ticks >= HOT_ROUNDS / 128);
    crt_abort(self->neighbour);
    CRT_AWAIT(self->r = crt_join(cx, &self->neighbour, NULL));
    CRT_END;
}
static void a_hot_channel_lets_its_neighbour_run(void)
{
    crt_runtime *rt = paused();
    for (int kind = 0; kind < HOT_KINDS; kind++) {
        int ticks = 0, bad = test__bad, zero = 0;
        hot h = {.kind = kind, .ticks = &ticks};
        CHECK_EQ(crt_mpsc_new(sizeof(int), kind & 1 ? 8 : 0, &h.tx, &h.rx), 0);
        CHECK_EQ(crt_mpsc_new(sizeof(int), 1, &h.full, &h.rx_full), 0);
        crt_mpsc_rx_drop(&h.rx_full);
        CHECK_EQ(crt_broadcast_new(sizeof(int), 4, &h.btx), 0);
        if (kind != 10) CHECK_EQ(crt_broadcast_subscribe(h.btx, &h.brx), 0);
        CHECK_EQ(crt_watch_new(sizeof(int), &zero, &h.wtx, &h.wrx), 0);
        if (kind == 11) crt_watch_rx_drop(&h.wrx);
        if (kind >= 12) crt_watch_tx_drop(&h.wtx);
        CHECK_EQ(crt_block_on(rt, hot_run, &h), 0);
        if (test__bad != bad) fprintf(stderr, "    with: hot operation %d\n", kind);
        crt_mpsc_tx_drop(&h.tx);
        crt_mpsc_tx_drop(&h.full);
        crt_mpsc_rx_drop(&h.rx);
        crt_broadcast_tx_drop(&h.btx);
        crt_broadcast_rx_drop(&h.brx);
        crt_watch_tx_drop(&h.wtx);
        crt_watch_rx_drop(&h.wrx);
    }
    crt_runtime_drop(&rt);
}

// --- two runtimes and plain threads

// A ball goes over mpsc, comes back by watch and broadcast, and each round is asked for by
// a oneshot, between tasks of two runtimes: every wake crosses from one to the other.
enum { ROUNDS = 500 };
typedef struct request {
    int n;
    crt_oneshot_tx *reply;
} request;
typedef struct court {
    crt_frame co;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_broadcast_tx *btx;
    crt_broadcast_rx *brx;
    crt_watch_tx *wtx;
    crt_watch_rx *wrx;
    crt_oneshot_rx *orx;
    request q;
    int i, v;
    crt_poll r;
    crt_runtime *rt;
    pthread_t id;
} court;
static crt_poll asks_run(void *frame, crt_cx *cx)
{
    court *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 1; self->i <= ROUNDS; self->i++) {
        self->q.n = self->i;
        CHECK_EQ(crt_oneshot_new(sizeof(int), &self->q.reply, &self->orx), 0);
        CRT_AWAIT(self->r = crt_mpsc_send(cx, self->tx, &self->q));
        CHECK_EQ(self->r, 0);
        CRT_AWAIT(self->r = crt_oneshot_recv(cx, &self->orx, &self->v));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(self->v, 2 * self->i);
        CRT_AWAIT(self->r = crt_broadcast_recv(cx, self->brx, &self->v, NULL));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(self->v, self->i);
        CRT_AWAIT(self->r = crt_watch_changed(cx, self->wrx));
        CHECK_EQ(self->r, 0);
        crt_watch_get(self->wrx, &self->v);
        CHECK_EQ(self->v, self->i);
    }
    CRT_FINALLY
        crt_mpsc_tx_drop(&self->tx);
        crt_broadcast_rx_drop(&self->brx);
        crt_watch_rx_drop(&self->wrx);
    CRT_END;
}
static crt_poll answers_run(void *frame, crt_cx *cx)
{
    court *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = crt_mpsc_recv(cx, self->rx, &self->q));
        if (self->r) break;
        self->v = 2 * self->q.n;
        CHECK_EQ(crt_oneshot_send(&self->q.reply, &self->v), 0);
        if (self->q.n % 3 == 0) CRT_YIELD();
        CHECK_EQ(crt_broadcast_send(self->btx, &self->q.n), 1);
        if (self->q.n % 2 == 0) CRT_YIELD();
        CHECK_EQ(crt_watch_send(self->wtx, &self->q.n), 0);
    }
    CHECK_EQ(self->r, CRT_ECLOSED);
    CRT_AWAIT(self->r = crt_broadcast_closed(cx, self->btx));   // the other side goes, and is heard to go
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_watch_closed(cx, self->wtx));
    CHECK_EQ(self->r, 0);
    CRT_FINALLY
        crt_mpsc_rx_drop(&self->rx);
        crt_broadcast_tx_drop(&self->btx);
        crt_watch_tx_drop(&self->wtx);
    CRT_END;
}
static void *answers_in_thread(void *arg)
{
    court *c = arg;
    CHECK_EQ(crt_block_on(c->rt, answers_run, c), 0);
    return NULL;
}
static void two_runtimes_share_channels(crt_runtime *rt)
{
    for (int flavor = 0; flavor < 2; flavor++) {
        court a = {0}, b = {0};
        int zero = 0;
        CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = flavor, .worker_threads = flavor == CRT_MULTI_THREAD ? 2 : 1}, &b.rt), 0);
        CHECK_EQ(crt_mpsc_new(sizeof(request), 1, &a.tx, &b.rx), 0);
        CHECK_EQ(crt_broadcast_new(sizeof(int), 4, &b.btx), 0);
        CHECK_EQ(crt_broadcast_subscribe(b.btx, &a.brx), 0);
        CHECK_EQ(crt_watch_new(sizeof(int), &zero, &b.wtx, &a.wrx), 0);
        CHECK_EQ(pthread_create(&b.id, NULL, answers_in_thread, &b), 0);
        CHECK_EQ(crt_block_on(rt, asks_run, &a), 0);
        pthread_join(b.id, NULL);
        crt_runtime_drop(&b.rt);
    }
}

// A job of the blocking pool is a plain thread too: it waits for a task's elements and
// answers it.
typedef struct office {
    crt_frame co;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_oneshot_tx *otx;
    crt_oneshot_rx *orx;
    crt_join_handle *job;
    int i, v;
    crt_poll r;
} office;
static intptr_t job_adds(void *arg)
{
    office *o = arg;
    int v, sum = 0, r;
    while ((r = crt_mpsc_blocking_recv(o->rx, &v)) == 0) sum += v;
    CHECK_EQ(r, CRT_ECLOSED);
    CHECK_EQ(crt_oneshot_send(&o->otx, &sum), 0);
    return 0;
}
static crt_poll office_run(void *frame, crt_cx *cx)
{
    office *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_mpsc_new(sizeof(int), 2, &self->tx, &self->rx), 0);
    CHECK_EQ(crt_oneshot_new(sizeof(int), &self->otx, &self->orx), 0);
    CHECK_EQ(crt_spawn_blocking(cx, &self->job, job_adds, self), 0);
    for (self->i = 1; self->i <= 100; self->i++) {
        CRT_AWAIT(self->r = crt_mpsc_send(cx, self->tx, &self->i));
        CHECK_EQ(self->r, 0);
    }
    crt_mpsc_tx_drop(&self->tx);
    CRT_AWAIT(self->r = crt_oneshot_recv(cx, &self->orx, &self->v));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->v, 5050);
    CRT_AWAIT(self->r = crt_join(cx, &self->job, NULL));
    CHECK_EQ(self->r, 0);
    CRT_FINALLY
        crt_mpsc_rx_drop(&self->rx);
    CRT_END;
}
static void a_blocking_job_waits_for_a_task(crt_runtime *rt)
{
    static office o;
    memset(&o, 0, sizeof o);
    CHECK_EQ(crt_block_on(rt, office_run, &o), 0);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST(every_wait_cancelled_at_every_moment);
    TEST_ON_EACH(every_wait_cancelled_while_it_is_granted);
    TEST(a_runtime_that_is_force_ended_leaves_nothing_behind);
    TEST_ON_EACH(what_a_wait_costs);
    TEST(a_hot_channel_lets_its_neighbour_run);
    TEST_ON_EACH(two_runtimes_share_channels);
    TEST_ON_EACH(a_blocking_job_waits_for_a_task);
    return test_end();
}
