// A small cluster in a simulated world (sim_platform.h): echo servers, a publish-and-
// subscribe hub, a slow server; clients that talk to them, give up, come again, are
// aborted; timers, intervals, a delay queue; wakes from "other threads". One seed is one
// world: how far apart things are, how small the buffers, how much goes wrong, whether
// crt's clock is real or virtual, one runtime or three that are driven turn by turn.
//
//   test_sim                      1000 seeds
//   SEEDS=100000 test_sim         more
//   SEED=17 test_sim              that one; TRACE=file writes down what happened
//   HASHES=1 test_sim             a line for each seed: the same for every compiler
//
// Checked all the time: bytes arrive in order, each once, none invented; a message is lost
// only where that was announced; no timer is early, nobody is late, nobody waits for what
// is there, or for ever; in a world without faults everything succeeds; at the end no
// task, descriptor, memory or expectation is left.
#if defined(__linux__) && !defined(CRT_PLATFORM_HEADER) && !defined(CRT_PLATFORM_KQUEUE)
#include "sim_platform.h"
#include "harness.h"

enum { ECHO, HUB, SLOW, SERVICES };   // listens on port 7000 + service
enum { CLIENTS = 24, EVERY = 25000, FOREIGN = 40 };
enum { C_ECHO, C_SUBSCRIBER, C_PUBLISHER, C_SLOW, C_TIMER, C_FOREIGN, C_QUEUE, C_KINDS };

static struct {
    uint64_t rng;
    bool clean;               // nothing goes wrong, nobody is aborted: all must succeed
    bool chaos, quits_early, burns;
    crt_duration patience;
    uint32_t nodes, clients, subscribers, publishers, messages, rounds;
    crt_cancel_token *stop;
    crt_semaphore subscribed[CLIENTS];   // of each publisher: subscribers that are ready
    crt_broadcast_tx *news;
    crt_notify bell[CLIENTS];
    crt_mpsc_tx *letters;     // of the foreign client
    crt_handle *handle[SIM_NODES];
    crt_join_handle *join[CLIENTS];
    int finished, foreign_tasks;
} world;
static uint64_t below(uint64_t n) { return n ? sim_next(&world.rng) % n : 0; }
static int64_t now(void)   // the true time
{
    sim_catch_up();
    return sim.now;
}
// Some tasks hold their worker up.
static void burn(void)
{
    if (world.burns && below(20) == 0) sim.now += (int64_t)below(1500000);
}
static unsigned char pattern(uint32_t id, uint64_t at) { return (unsigned char)((at + id * 7919u) * 2654435761u >> 11 ^ at); }
// An error that a call may give in a world with faults.
static crt_poll allowed(const char *what, crt_poll r)
{
    sim_trace(what, r, 0, 0);
    if (r >= 0 || r == CRT_UNWIND) return r;
    if (world.clean) sim_fail("%s: %s, where nothing goes wrong", what, crt_strerror((int)r));
    if (r == CRT_EAGAIN || r == CRT_PENDING || r == -EINTR || r == -EBADF || r == -ENOENT || r == -EEXIST || r == CRT_EINVAL)
        sim_fail("%s: %s is no answer", what, crt_strerror((int)r));
    return r;
}

// ---- servers ----------------------------------------------------------------------

typedef struct echo {
    crt_frame co;
    unsigned char buf[300];
    crt_reader in;
    crt_copier copier;
    crt_poll n, r;
    uint32_t kind;
} echo;
static crt_poll echo_run(echo *self, crt_cx *cx, crt_stream *peer)
{
    CRT_BEGIN(self, cx);
    self->kind = (uint32_t)below(3);
    if (self->kind == 0) {
        CRT_AWAIT(self->r = crt_copy(cx, &self->copier, peer, peer));
        CRT_RETURN(allowed("copy", self->r));
    }
    crt_reader_init(&self->in, peer, NULL, 2 + (size_t)below(100));
    for (;;) {
        if (self->kind == 1) {
            CRT_AWAIT(self->n = crt_read(cx, peer, self->buf, sizeof self->buf));
        } else {
            CRT_AWAIT(self->n = crt_reader_read(cx, &self->in, self->buf, sizeof self->buf));
        }
        burn();
        if (self->n <= 0) CRT_RETURN(allowed("echo read", self->n));
        CRT_AWAIT(self->r = crt_write_all(cx, peer, self->buf, (size_t)self->n));
        if (self->r < 0) CRT_RETURN(allowed("echo write", self->r));
    }
    CRT_FINALLY
        crt_reader_drop(&self->in);
    CRT_END;
}

typedef struct news {   // one message, as it travels
    uint32_t publisher, number;
} news;
enum { LAST = 0x80000000u, LAGGED = 0xffffffffu };   // in number; as publisher
typedef struct hub {
    crt_frame co;
    crt_reader in;
    crt_writer out;
    crt_broadcast_rx *rx;
    CRT_SELECT(3) sel;
    news item;
    void *frame;
    uint64_t lost;
    crt_poll n, r, w, a;
} hub;
static crt_poll hub_run(hub *self, crt_cx *cx, crt_stream *peer)
{
    CRT_BEGIN(self, cx);
    crt_reader_init(&self->in, peer, NULL, 2 + (size_t)below(64));
    crt_writer_init(&self->out, peer, NULL, 1 + (size_t)below(64));
    CRT_AWAIT(self->n = crt_framed_read(cx, &self->in, NULL, &self->frame));
    if (self->n == CRT_ECLOSED) CRT_RETURN(0);
    if (self->n < 0) CRT_RETURN(allowed("hub hello", self->n));
    if (self->n != 1) sim_fail("the hub got a hello of %d bytes", (int)self->n);
    while (*(char *)self->frame == 'P') {
        CRT_AWAIT(self->n = crt_framed_read(cx, &self->in, NULL, &self->frame));
        if (self->n == CRT_ECLOSED) CRT_RETURN(0);
        if (self->n < 0) CRT_RETURN(allowed("hub read", self->n));
        if (self->n < (crt_poll)sizeof self->item) sim_fail("a message of %d bytes", (int)self->n);
        memcpy(&self->item, self->frame, sizeof self->item);
        for (crt_poll i = sizeof self->item; i < self->n; i++)
            if (((unsigned char *)self->frame)[i] != pattern(self->item.number, (uint64_t)i)) sim_fail("a message is garbled");
        sim_trace("news", self->item.publisher, self->item.number, crt_broadcast_send(world.news, &self->item));
        *(char *)self->frame = 'P';
    }
    self->r = crt_broadcast_subscribe(world.news, &self->rx);
    if (self->r < 0) CRT_RETURN(allowed("subscribe", self->r));
    CRT_AWAIT(self->r = crt_framed_write(cx, &self->out, NULL, "R", 1));
    if (self->r >= 0) CRT_AWAIT(self->r = crt_writer_flush(cx, &self->out));
    while (self->r >= 0) {
        CRT_AWAIT(self->w = crt_select(cx, &self->sel,
            crt_on(cx, 0, self->r = crt_broadcast_recv(cx, self->rx, &self->item, &self->lost)),
            crt_on(cx, 1, self->a = crt_reader_fill(cx, &self->in, 1)),
            crt_on(cx, 2, crt_cancelled(cx, world.stop))));
        if (self->w == 2) CRT_RETURN(0);
        if (self->w == 1) CRT_RETURN(allowed("subscriber's end", self->a));
        if (self->r == CRT_ELAGGED) self->item = (news){LAGGED, 0};
        else if (self->r < 0) break;
        CRT_AWAIT(self->r = crt_framed_write(cx, &self->out, NULL, &self->item, sizeof self->item));
        if (self->r >= 0) CRT_AWAIT(self->r = crt_writer_flush(cx, &self->out));
    }
    CRT_RETURN(allowed("hub", self->r));
    CRT_FINALLY
        crt_reader_drop(&self->in);
        crt_writer_drop(&self->out);
        crt_broadcast_rx_drop(&self->rx);
    CRT_END;
}

typedef struct slow {   // a byte, a while, an answer
    crt_frame co;
    unsigned char byte;
    crt_poll n, r;
    crt_duration wait;
} slow;
static crt_poll slow_run(slow *self, crt_cx *cx, crt_stream *peer)
{
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->n = crt_read(cx, peer, &self->byte, 1));
        if (self->n <= 0) CRT_RETURN(allowed("slow read", self->n));
        self->wait = CRT_MS(below(40));
        CRT_AWAIT(crt_sleep(cx, self->wait));
        CRT_AWAIT(self->r = crt_write_all(cx, peer, &self->byte, 1));
        if (self->r < 0) CRT_RETURN(allowed("slow write", self->r));
    }
    CRT_END;
}

typedef struct server server;
typedef struct conn {
    crt_frame co;
    server *of;
    crt_stream *peer;
    union {
        echo echo;
        hub hub;
        slow slow;
    } u;
    crt_poll r;
} conn;
typedef struct server {
    crt_frame co, take;
    int service;
    crt_listener *listener;
    crt_stream *peer;
    crt_semaphore limit;     // connections at a time
    bool permit;             // held by the acceptor
    crt_join_set conns;
    CRT_SELECT(3) sel;
    intptr_t result;
    crt_poll r, w, a, j;
    int tries;
    char address[32];
} server;
static crt_poll conn_run(void *frame, crt_cx *cx)
{
    conn *self = frame;
    CRT_BEGIN(self, cx);
    if (self->of->service == ECHO) CRT_AWAIT(self->r = echo_run(&self->u.echo, cx, self->peer));
    if (self->of->service == HUB) CRT_AWAIT(self->r = hub_run(&self->u.hub, cx, self->peer));
    if (self->of->service == SLOW) CRT_AWAIT(self->r = slow_run(&self->u.slow, cx, self->peer));
    CRT_RETURN(0);
    CRT_FINALLY
        crt_close(&self->peer);
        crt_semaphore_release(&self->of->limit, 1);
    CRT_END;
}
// A permit and then a connection. Cancelled, it keeps the permit, which it will need again.
static crt_poll take_run(server *self, crt_cx *cx)
{
    CRT_BEGIN(&self->take, cx);
    if (!self->permit) {
        CRT_AWAIT(self->a = crt_semaphore_acquire(cx, &self->limit, 1));
        self->permit = true;
    }
    CRT_AWAIT(self->a = crt_accept(cx, self->listener, &self->peer, NULL));
    CRT_RETURN(self->a);
    CRT_END;
}
static crt_poll server_run(void *frame, crt_cx *cx)
{
    server *self = frame;
    CRT_BEGIN(self, cx);
    snprintf(self->address, sizeof self->address, "127.0.0.1:%d", 7000 + self->service);
    crt_semaphore_init(&self->limit, self->service == HUB ? 16 : 1 + (size_t)below(6));
    for (; self->tries < 100; self->tries++) {
        CRT_AWAIT(self->r = crt_tcp_listen(cx, self->address, NULL, &self->listener));
        if (self->r == 0) break;
        allowed("listen", self->r);
        CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
    }
    while (self->listener) {
        CRT_AWAIT(self->w = crt_select(cx, &self->sel,
            crt_on(cx, 0, crt_cancelled(cx, world.stop)),
            crt_on(cx, 1, self->r = take_run(self, cx)),
            crt_on_if(cx, 2, crt_join_set_len(&self->conns) > 0, self->j = crt_join_set_next(cx, &self->conns, &self->result))));
        sim_trace("server", self->service, self->w, self->w == 1 ? self->r : 0);
        if (self->w == 0) break;
        if (self->w == 2) {
            if (self->j != 0) sim_fail("a connection ended with %s", crt_strerror((int)self->j));
            continue;
        }
        if (self->r < 0) {
            allowed("accept", self->r);
            if (self->r == -EMFILE || self->r == -ENFILE || self->r == -ENOBUFS) sim_fail("accept does not wait for descriptors");
            CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
            continue;
        }
        if (crt_join_set_spawn(cx, &self->conns, conn_run, &(conn){.of = self, .peer = self->peer}) == 0) self->permit = false;
        else crt_close(&self->peer);
        self->peer = NULL;
    }
    CRT_FINALLY
        crt_close(&self->peer);
        crt_close(&self->listener);
        CRT_AWAIT(crt_join_set_shutdown(cx, &self->conns));
        crt_join_set_drop(&self->conns);
    CRT_END;
}

// ---- clients ----------------------------------------------------------------------

typedef struct client {
    crt_frame co, reader, ask;
    int kind, expect;
    uint32_t id, round, i, k, n;
    crt_stream *s, *reading;
    crt_timer timer, inner;
    CRT_SELECT(3) sel;
    unsigned char out[700], in[300];
    uint64_t sent, got;
    crt_reader rd;
    crt_writer wr;
    crt_mpsc_rx *letters;
    crt_interval interval;
    crt_delay_queue queue;
    crt_delay entry[6], *due;
    bool lagged[CLIENTS], ended[CLIENTS];
    uint32_t last[CLIENTS], ends;
    news item;
    void *frame;
    int64_t begun;
    crt_duration d;
    crt_poll r, a, b, w;
} client;

// Connects; in a world with faults perhaps not.
#define CONNECT(service)                                                                                        \
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(3),                                               \
                                    crt_tcp_connect(cx, "127.0.0.1:" #service, &self->s)));                    \
    allowed("connect", self->r)

static crt_poll echo_reader_run(client *self, crt_cx *cx)
{
    CRT_BEGIN(&self->reader, cx);
    while (self->got < self->sent) {
        CRT_AWAIT(self->b = crt_read(cx, self->reading, self->in, sizeof self->in));
        if (self->b == 0 && world.clean) sim_fail("the echo ends after %d of %d bytes", (int)self->got, (int)self->sent);
        if (self->b <= 0) CRT_RETURN(self->b ? self->b : CRT_EEOF);
        for (crt_poll i = 0; i < self->b; i++)
            if (self->in[i] != pattern(self->id + self->round * 100, self->got + (uint64_t)i))
                sim_fail("client %u: byte %d is wrong", self->id, (int)(self->got + (uint64_t)i));
        self->got += (uint64_t)self->b;
        if (self->got > self->sent) sim_fail("more bytes than were sent");
    }
    CRT_RETURN(0);
    CRT_END;
}
static crt_poll echo_client_run(client *self, crt_cx *cx)
{
    CRT_BEGIN(&self->ask, cx);
    for (self->round = 0; self->round < world.rounds; self->round++) {
        CONNECT(7000);
        if (self->r < 0) continue;
        self->reading = crt_stream_clone(self->s);
        self->sent = self->got = 0;
        for (self->i = 0; self->i < world.messages && self->r >= 0; self->i++) {
            self->n = 1 + (uint32_t)below(sim.room < 64 ? 100 : sizeof self->out);
            for (uint32_t i = 0; i < self->n; i++) self->out[i] = pattern(self->id + self->round * 100, self->sent + i);
            self->sent += self->n;
            self->expect = sim_expect(now() + world.patience, "an echo");
            CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, world.patience, crt_try_join(cx, &self->sel,
                crt_on(cx, 0, self->a = crt_write_all(cx, self->s, self->out, self->n)),
                crt_on(cx, 1, echo_reader_run(self, cx)))));
            sim_met(&self->expect);
            allowed("echo", self->r);
            if (self->got != self->sent && self->r >= 0) sim_fail("an echo is incomplete");
        }
        if (self->r >= 0) {
            CRT_AWAIT(self->r = crt_shutdown(cx, self->s));
            CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, world.patience, crt_read(cx, self->s, self->in, 1)));
            if (allowed("the end", self->r) > 0) sim_fail("a byte after the last");
        }
        crt_close(&self->reading);
        crt_close(&self->s);
    }
    CRT_END;
}
static crt_poll subscriber_run(client *self, crt_cx *cx)
{
    CRT_BEGIN(&self->ask, cx);
    CONNECT(7001);
    if (self->r < 0) CRT_RETURN(self->r);
    crt_reader_init(&self->rd, self->s, NULL, 2 + (size_t)below(64));
    crt_writer_init(&self->wr, self->s, NULL, 16);
    CRT_AWAIT(self->r = crt_framed_write(cx, &self->wr, NULL, "S", 1));
    if (self->r >= 0) CRT_AWAIT(self->r = crt_writer_flush(cx, &self->wr));
    if (allowed("hello", self->r) < 0) CRT_RETURN(self->r);
    for (;;) {
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, world.patience, crt_framed_read(cx, &self->rd, NULL, &self->frame)));
        if (allowed("news", self->r) < 0) CRT_RETURN(self->r);
        if (self->r == 1) {
            for (uint32_t i = 0; i < world.publishers; i++) crt_semaphore_release(&world.subscribed[world.subscribers + i], 1);
            continue;
        }
        if (self->r != sizeof self->item) sim_fail("news of %d bytes", (int)self->r);
        memcpy(&self->item, self->frame, sizeof self->item);
        if (self->item.publisher == LAGGED) {
            if (world.clean) sim_fail("the hub lagged");
            for (uint32_t i = 0; i < CLIENTS; i++) self->lagged[i] = true;
            continue;
        }
        uint32_t p = self->item.publisher, number = self->item.number & ~LAST;
        if (p >= CLIENTS) sim_fail("news from nobody");
        if (number <= self->last[p] || (number != self->last[p] + 1 && !self->lagged[p]))
            sim_fail("subscriber %u: after number %u of %u comes %u", self->id, self->last[p], p, number);
        self->last[p] = number;
        self->lagged[p] = false;
        if ((self->item.number & LAST) && !self->ended[p]) {
            self->ended[p] = true;
            if (++self->ends == world.publishers) break;
        }
    }
    CRT_FINALLY
        crt_reader_drop(&self->rd);
        crt_writer_drop(&self->wr);
    CRT_END;
}
static crt_poll publisher_run(client *self, crt_cx *cx)
{
    CRT_BEGIN(&self->ask, cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, world.patience / 4,
                                    crt_semaphore_acquire(cx, &world.subscribed[self->id], world.subscribers)));
    allowed("subscribers", self->r);
    CONNECT(7001);
    if (self->r < 0) CRT_RETURN(self->r);
    crt_reader_init(&self->rd, self->s, NULL, 16);
    crt_writer_init(&self->wr, self->s, NULL, 1 + (size_t)below(100));
    CRT_AWAIT(self->r = crt_framed_write(cx, &self->wr, NULL, "P", 1));
    for (self->i = 1; self->r >= 0 && self->i <= world.messages; self->i++) {
        self->item = (news){self->id, self->i | (self->i == world.messages ? LAST : 0)};
        self->n = sizeof self->item + (uint32_t)below(40);
        memcpy(self->out, &self->item, sizeof self->item);
        for (uint32_t i = sizeof self->item; i < self->n; i++) self->out[i] = pattern(self->item.number, i);
        CRT_AWAIT(self->r = crt_framed_write(cx, &self->wr, NULL, self->out, self->n));
        if (self->r >= 0 && below(2)) CRT_AWAIT(self->r = crt_writer_flush(cx, &self->wr));
        burn();
        self->d = CRT_US(below(20000));
        if (self->r >= 0 && below(3) == 0) CRT_AWAIT(crt_sleep(cx, self->d));
    }
    if (self->r >= 0) CRT_AWAIT(self->r = crt_writer_shutdown(cx, &self->wr));
    if (allowed("publish", self->r) < 0) CRT_RETURN(self->r);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, world.patience, crt_reader_fill(cx, &self->rd, 1)));
    if (allowed("the hub's end", self->r) > 0) sim_fail("the hub answers a publisher");
    CRT_FINALLY
        crt_reader_drop(&self->rd);
        crt_writer_drop(&self->wr);
    CRT_END;
}
// Asks a slow server, and gives up waiting again and again: no answer may be lost by that.
static crt_poll slow_client_run(client *self, crt_cx *cx)
{
    CRT_BEGIN(&self->ask, cx);
    CONNECT(7002);
    if (self->r < 0) CRT_RETURN(self->r);
    for (self->i = 0; self->i < world.messages * 2; self->i++) {
        self->out[0] = (unsigned char)self->i;
        CRT_AWAIT(self->r = crt_write_all(cx, self->s, self->out, 1));
        if (allowed("ask", self->r) < 0) CRT_RETURN(self->r);
        self->sent++;
        do {
            self->d = CRT_US(below(60000) + 1);
            self->begun = now();
            self->expect = sim_expect(self->begun + self->d, "a time-out");
            CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, self->d, crt_read(cx, self->s, self->in, 1 + self->i % 4)));
            sim_met(&self->expect);
            if (self->r == CRT_ETIMEDOUT) {
                sim_trace("timeout", self->id, self->d, now() - self->begun);
                if (now() < self->begun + self->d) sim_fail("a time-out is %lld ns early", (long long)(self->begun + self->d - now()));
                continue;
            }
            if (self->r == 0 && world.clean) sim_fail("the slow server hangs up");
            if (allowed("answer", self->r) <= 0) CRT_RETURN(self->r);
            for (crt_poll i = 0; i < self->r; i++)
                if (self->in[i] != (unsigned char)self->got++) sim_fail("an answer is lost");
        } while (self->got < self->sent && below(3));
        if (self->got > self->sent) sim_fail("an answer without a question");
    }
    while (self->got < self->sent) {
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, world.patience, crt_read(cx, self->s, self->in, 8)));
        if (allowed("last answers", self->r) <= 0) CRT_RETURN(self->r);
        for (crt_poll i = 0; i < self->r; i++)
            if (self->in[i] != (unsigned char)self->got++) sim_fail("an answer is lost");
    }
    CRT_END;
}
static void punctual(client *self)
{
    sim_met(&self->expect);
    sim_trace("timer", self->id, self->d, now() - self->begun);
    if (now() < self->begun + self->d) sim_fail("a timer is %lld ns early", (long long)(self->begun + self->d - now()));
}
static crt_poll timer_client_run(client *self, crt_cx *cx)
{
    CRT_BEGIN(&self->ask, cx);
    for (self->i = 0; self->i < world.messages * 3; self->i++) {
        static const int64_t spans[] = {1000, 1000000, 3000000, 64000000, 200000000, 5000000000};
        self->d = 1 + (int64_t)below((uint64_t)spans[below(6)]);
        self->begun = now();
        self->expect = sim_expect(self->begun + self->d, "a timer");
        switch (self->k = (uint32_t)below(3)) {
        case 0: break;
        case 1: crt_timer_reset(cx, &self->inner, self->d); break;
        default: crt_interval_init(&self->interval, self->d, CRT_BURST); break;
        }
        if (self->k == 0) CRT_AWAIT(crt_sleep(cx, self->d));
        if (self->k == 1) CRT_AWAIT(crt_timer_wait(cx, &self->inner));
        if (self->k == 2) {
            CRT_AWAIT(crt_interval_tick(cx, &self->interval));
            CRT_AWAIT(crt_interval_tick(cx, &self->interval));
        }
        punctual(self);
        burn();
        if (below(4) == 0) CRT_YIELD();
    }
    CRT_FINALLY
        crt_timer_stop(&self->inner);
    CRT_END;
}
static crt_poll queue_client_run(client *self, crt_cx *cx)
{
    CRT_BEGIN(&self->ask, cx);
    for (self->round = 0; self->round < world.rounds; self->round++) {
        self->begun = now();
        for (int i = 0; i < 6; i++) {
            crt_duration d = 1 + (int64_t)below(300000000);
            if (crt_delay_insert(cx, &self->queue, &self->entry[i], d) < 0) allowed("delay", CRT_ENOMEM);
        }
        for (;;) {
            crt_delay *next = crt_delay_peek(&self->queue);
            if (!next) break;
            self->d = next->deadline - crt_now(cx);   // the first of those that lie in the queue, or near it
            self->begun = now();
            self->expect = sim_expect(self->begun + (self->d > 0 ? self->d : 0) + CRT_MS(100), "a delay");
            CRT_AWAIT(self->r = crt_delay_next(cx, &self->queue, &self->due));
            sim_met(&self->expect);
            if (self->r < 0) sim_fail("delay queue: %s", crt_strerror((int)self->r));
            if (crt_now(cx) < self->due->deadline) sim_fail("a delay is early");
            sim_trace("due", self->id, self->due - self->entry, 0);
        }
    }
    CRT_FINALLY
        crt_delay_queue_drop(&self->queue);
    CRT_END;
}
// What other threads do.
static void foreign_ring(void *bell) { crt_notify_one(bell); }
static void foreign_send(void *number)
{
    uint32_t n = (uint32_t)(uintptr_t)number;
    int e = world.letters ? crt_mpsc_try_send(world.letters, &n) : CRT_ECLOSED;
    if (e && e != CRT_ECLOSED && !(e == CRT_ENOMEM && !world.clean)) sim_fail("try_send: %s", crt_strerror(e));
}
static crt_poll small_run(void *frame, crt_cx *cx)
{
    (void)frame;
    sim_met(&world.foreign_tasks);   // polled, be it to be cancelled
    return crt_take_unwind(cx) ? CRT_UNWIND : 0;
}
static void foreign_spawn(void *handle)
{
    int frame = 0;
    if (world.foreign_tasks) return;
    world.foreign_tasks = sim_expect(sim.now, "a task that was spawned from outside");
    if (crt_handle_spawn((crt_handle *)handle, small_run, &frame) < 0) sim_met(&world.foreign_tasks);
}
static crt_poll foreign_client_run(client *self, crt_cx *cx)
{
    CRT_BEGIN(&self->ask, cx);
    if (!world.letters) {   // the first of its kind has the letters
        if (allowed("mpsc", crt_mpsc_new(sizeof(uint32_t), 0, &world.letters, &self->letters)) < 0) CRT_RETURN(0);
        for (self->i = 1; self->i <= FOREIGN; self->i++)
            sim_call_at(now() + (int64_t)below(400000000), foreign_send, (void *)(uintptr_t)self->i);
        for (self->i = 0; self->i < FOREIGN; self->i++) {
            if (!sim_memory_faults) self->expect = sim_expect(now() + CRT_MS(400), "a letter");
            CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(2), crt_mpsc_recv(cx, self->letters, &self->n)));
            sim_met(&self->expect);
            if (self->r < 0) CRT_RETURN(allowed("letter", self->r));
            self->got |= (uint64_t)1 << self->n;
            sim_trace("letter", self->id, self->n, 0);
        }
        if (self->got != (((uint64_t)1 << FOREIGN) - 1) << 1) sim_fail("letters were lost, or came twice");
        CRT_RETURN(0);
    }
    for (self->i = 0; self->i < world.messages; self->i++) {
        self->d = 1 + (int64_t)below(50000000);
        self->begun = now();
        sim_call_at(self->begun + self->d, foreign_ring, &world.bell[self->id]);
        self->expect = sim_expect(self->begun + self->d, "a wake from another thread");
        CRT_AWAIT(self->w = crt_select(cx, &self->sel, crt_on(cx, 0, crt_notified(cx, &world.bell[self->id])),
                                       crt_on(cx, 1, crt_sleep(cx, CRT_SEC(10)))));
        sim_met(&self->expect);
        if (self->w != 0) sim_fail("a wake from another thread is lost");
    }
    CRT_FINALLY
        if (self->letters) {
            crt_mpsc_tx_drop(&world.letters);
            crt_mpsc_rx_drop(&self->letters);
        }
    CRT_END;
}
static crt_poll client_run(void *frame, crt_cx *cx)
{
    client *self = frame;
    CRT_BEGIN(self, cx);
    if (self->kind == C_ECHO) CRT_AWAIT(self->w = echo_client_run(self, cx));
    if (self->kind == C_SUBSCRIBER) CRT_AWAIT(self->w = subscriber_run(self, cx));
    if (self->kind == C_PUBLISHER) CRT_AWAIT(self->w = publisher_run(self, cx));
    if (self->kind == C_SLOW) CRT_AWAIT(self->w = slow_client_run(self, cx));
    if (self->kind == C_TIMER) CRT_AWAIT(self->w = timer_client_run(self, cx));
    if (self->kind == C_FOREIGN) CRT_AWAIT(self->w = foreign_client_run(self, cx));
    if (self->kind == C_QUEUE) CRT_AWAIT(self->w = queue_client_run(self, cx));
    world.finished++;
    CRT_FINALLY
        sim_trace("client", self->id, self->kind, self->w);
        sim_met(&self->expect);
        crt_close(&self->reading);
        crt_close(&self->s);
    CRT_END;
}

// ---- the whole --------------------------------------------------------------------

typedef struct root {
    crt_frame co;
    crt_join_handle *servers[SERVICES];
    uint32_t i;
    intptr_t result;
    crt_duration d;
    crt_poll r;
} root;
static int client_kind(uint32_t i)
{
    if (i < world.subscribers) return C_SUBSCRIBER;
    if (i < world.subscribers + world.publishers) return C_PUBLISHER;
    static const int others[] = {C_ECHO, C_SLOW, C_TIMER, C_FOREIGN, C_FOREIGN, C_ECHO, C_QUEUE};
    return others[(i - world.subscribers - world.publishers) % 7];
}
static crt_poll root_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    for (int i = 0; i < SERVICES; i++)
        allowed("spawn", crt_handle_spawn_join(world.handle[(uint32_t)i % world.nodes], &self->servers[i], server_run, &(server){.service = i}));
    CRT_AWAIT(crt_sleep(cx, world.clean ? CRT_MS(10) : CRT_US(below(2000))));
    for (uint32_t i = 0; i < world.clients; i++) {
        client c = {.id = i, .kind = client_kind(i)};
        allowed("spawn", crt_handle_spawn_join(world.handle[below(world.nodes)], &world.join[i], client_run, &c));
    }
    for (self->i = 0; self->i < 4 * world.chaos; self->i++) {
        self->d = CRT_MS(below(100));
        CRT_AWAIT(crt_sleep(cx, self->d));
        uint32_t who = (uint32_t)below(world.clients);
        sim_trace("abort", who, 0, 0);
        if (world.join[who]) crt_abort(world.join[who]);
        int64_t when = now() + (int64_t)below(100000);   // not both in one call, whose order is the compiler's
        sim_call_at(when, foreign_spawn, world.handle[below(world.nodes)]);
    }
    if (world.quits_early) CRT_RETURN(0);
    for (self->i = 0; self->i < world.clients; self->i++) {
        if (!world.join[self->i]) continue;
        CRT_AWAIT(self->r = crt_join(cx, &world.join[self->i], &self->result));
        if (self->r != 0 && (self->r != CRT_ECANCELED || !world.chaos)) sim_fail("a client ended with %s", crt_strerror((int)self->r));
    }
    if (world.clean && world.finished != (int)world.clients) sim_fail("%d clients of %u finished", world.finished, world.clients);
    crt_cancel_token_cancel(world.stop);
    for (self->i = 0; self->i < SERVICES; self->i++) {
        if (!self->servers[self->i]) continue;
        CRT_AWAIT(self->r = crt_join(cx, &self->servers[self->i], &self->result));
        if (self->r != 0) sim_fail("a server ended with %s", crt_strerror((int)self->r));
    }
    CRT_FINALLY
        for (uint32_t i = 0; i < SERVICES; i++) crt_detach(&self->servers[i]);
        for (uint32_t i = 0; i < world.clients; i++) crt_detach(&world.join[i]);
    CRT_END;
}
static void quiet(int level, const char *message, void *user)
{
    (void)level, (void)user;
    if (sim.trace) fprintf(sim.trace, "log %s\n", message);
}
// Three runtimes in one loop, each a turn at a time, in any order.
static void drive_by_turns(root *frame)
{
    crt_join_handle *join;
    intptr_t result;
    if (crt_handle_spawn_join(world.handle[0], &join, root_run, frame) < 0) return;
    while (!crt_is_finished(join)) {
        int64_t next = INT64_MAX;
        uint32_t first = (uint32_t)below(world.nodes);
        for (uint32_t i = 0; i < world.nodes; i++) {
            int n = crt_runtime_turn(sim_node[(first + i) % world.nodes], below(2) ? 0 : CRT_MS(1));
            if (n < 0) sim_fail("crt_runtime_turn: %s", crt_strerror(n));
            if (++sim.steps > 2000000) sim_fail("it does not come to an end");
        }
        for (uint32_t i = 0; i < world.nodes; i++) {
            crt_duration d = crt_runtime_next_deadline(sim_node[i]);
            if (d != CRT_FOREVER && sim.now + d < next) next = sim.now + d;
        }
        int64_t kernel = sim_next_time(-1);
        if (kernel < next) next = kernel;
        if (next == INT64_MAX && !crt_is_finished(join)) sim_fail("everybody waits, and nothing will happen any more");
        if (next != INT64_MAX && next > sim.now) sim.now = next;
    }
    crt_join_blocking(&join, &result);
}
static void prepare(uint64_t seed)
{
    FILE *trace = sim.trace;
    memset(&sim, 0, sizeof sim);
    memset(&world, 0, sizeof world);
    sim.trace = trace;
    sim.seed = seed;
    sim.hash = 0xcbf29ce484222325u;
    sim.kernel_rng = seed * 2 + 1;
    world.rng = seed * 2;
    snprintf(sim.replay, sizeof sim.replay, "SEED=%llu .build/test_sim cluster", (unsigned long long)seed);
    for (int i = 0; i < SIM_OBJECTS; i++) sim.object[i].epoll = -1;
    static const uint32_t faults[] = {5, 30, 100, 250}, breaks[] = {0, 0, 2, 10}, rooms[] = {1, 16, 256, 4096};
    static const int64_t delays[] = {0, 100000, 5000000, 60000000};
    world.clean = seed % 3 == 0;
    world.nodes = seed % 5 == 0 ? 3 : 1;
    sim_paused = world.nodes == 1 && seed % 4 == 1;
    world.patience = CRT_SEC(world.clean ? 3000 : 20);
    world.burns = below(4) == 0 && !sim_paused;
    world.chaos = !world.clean && below(3) == 0;
    world.quits_early = !world.clean && below(5) == 0;
    world.subscribers = 1 + (uint32_t)below(3);
    world.publishers = 1 + (uint32_t)below(2);
    world.clients = world.subscribers + world.publishers + 2 + (uint32_t)below(8);
    world.messages = 2 + (uint32_t)below(8);
    world.rounds = 1 + (uint32_t)below(3);
    if (!world.clean) {
        sim.faults = faults[below(4)];
        sim.breaks = breaks[below(4)];
    }
    sim.delay = delays[below(4)];
    sim.room = (int)rooms[below(4)];
    if (sim.room < 256 && sim.delay > 5000000) sim.room = 256;   // else it takes hours
    sim.overshoot = below(2) ? 0 : 200000;
    sim.race = below(2);
    sim.whole_ms = below(3) == 0;
    sim.slack = CRT_MS(4) + (world.burns ? CRT_MS(200) : 0);
}
static uint64_t run(uint64_t seed)
{
    root frame = {.i = 0};
    sim_memory_faults = 0;
    long live = sim_live;
    prepare(seed);
    world.stop = crt_cancel_token_new();
    if (crt_broadcast_new(sizeof(news), world.clean ? 64 : 4, &world.news) < 0 || !world.stop) sim_fail("no memory");
    sim_nodes = (int)world.nodes;
    for (uint32_t i = 0; i < world.nodes; i++) {
        crt_config c = {.flavor = CRT_CURRENT_THREAD, .seed = seed + 1 + i, .start_paused = sim_paused, .log.func = quiet};
        c.event_interval = below(3) ? 0 : 1 + (int)below(5);
        c.max_io_events = below(3) ? 0 : 1 + (int)below(3);
        int e = crt_runtime_new(&c, &sim_node[i]);
        if (e) sim_fail("crt_runtime_new: %s", crt_strerror(e));
        world.handle[i] = crt_runtime_handle(sim_node[i]);
    }
    if (!world.clean && below(4) == 0) sim_memory_faults = 4;
    if (world.nodes > 1) drive_by_turns(&frame);
    else (void)allowed("block_on", crt_block_on(sim_node[0], root_run, &frame));
    uint32_t first = (uint32_t)below(world.nodes);
    for (uint32_t i = 0; i < world.nodes; i++) {
        uint32_t k = (first + i) % world.nodes;
        crt_handle_drop(&world.handle[k]);
        crt_runtime_drop(&sim_node[k]);
    }
    crt_cancel_token_drop(&world.stop);
    crt_broadcast_tx_drop(&world.news);
    for (int i = 0; i < SIM_OBJECTS; i++)
        if (sim.object[i].kind != SIM_FREE && !sim.object[i].held) sim_fail("descriptor %d is still open", SIM_FD + i);
    for (int i = 0; i < SIM_EXPECTED; i++)
        if (sim_expected[i].what) sim_fail("%s did not happen", sim_expected[i].what);
    if (sim_live != live) sim_fail("%ld allocations are left", sim_live - live);
    return sim.hash;
}

static uint64_t first_seed = 1, seeds = 1000, total_calls, total_steps, total_injected, combined = 0xcbf29ce484222325u;
static bool print_hashes;
static void cluster(void)
{
    for (uint64_t seed = first_seed; seed < first_seed + seeds; seed++) {
        uint64_t hash = run(seed);
        alarm(test_patience(60));
        combined = (combined ^ hash) * 0x100000001b3u;
        total_calls += sim.calls;
        total_steps += sim.steps;
        total_injected += sim.injected;
        if (print_hashes) printf("seed %llu hash %016llx at %lld us, %llu waits\n", (unsigned long long)seed, (unsigned long long)hash,
                                 (long long)sim.now / 1000, (unsigned long long)sim.steps);
    }
}
static void the_same_seed_gives_the_same_trace(void)
{
    for (uint64_t seed = 1; seed <= 15; seed++) CHECK(run(seed) == run(seed));
    CHECK(run(1) != run(2));
}

int main(int argc, char **argv)
{
    const char *s;
    if ((s = getenv("SEEDS"))) seeds = strtoull(s, NULL, 10);
    if ((s = getenv("FIRST"))) first_seed = strtoull(s, NULL, 10);
    if ((s = getenv("SEED"))) {
        first_seed = strtoull(s, NULL, 10);
        seeds = 1;
    }
    if ((s = getenv("TRACE"))) sim.trace = fopen(s, "w");
    print_hashes = getenv("HASHES") != NULL;
    (void)test__on_each;
    test_init(argc, argv);
    TEST(cluster);
    printf("%llu seeds, %llu calls, %llu waits, %llu faults, hash %016llx\n", (unsigned long long)seeds, (unsigned long long)total_calls,
           (unsigned long long)total_steps, (unsigned long long)total_injected, (unsigned long long)combined);
    TEST(the_same_seed_gives_the_same_trace);
    if (sim.trace) fclose(sim.trace);
    return test_end();
}
#else   // what is simulated is the kernel under crt_platform_epoll.h
#include <stdio.h>
int main(void)
{
    puts("skipped: the simulation is of epoll\n0 passed, 0 failed");
    return 0;
}
#endif
