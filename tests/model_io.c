// model_io.c - readiness: events against reads, waits, cancellation and the end of a socket.
//
// Promise: an edge is never lost (the kernel reports each only once), a wait that is cut
// short leaves nothing behind, and an event that comes late does not reach the socket that
// has got the record meanwhile.
// The kernel is a counter of bytes. Whoever adds one reports an event afterwards, as epoll
// does; events come from the one thread that is in the driver.
#include <sys/socket.h>

static int model_accept(void);
#define accept4(fd, from, n, flags) model_accept()
#include "model_platform.h"

static crt__sock table[64];
static uint32_t bytes;   // atomic: what the kernel holds
static crt__sock *sock;
static uint64_t token;
static int got, unwinds, closed_calls, shut;
static crt_join_handle *handle;
static uint32_t refusals;   // atomic: how often the kernel has no descriptor to give

static intptr_t kernel_recv(void *buf, size_t n)
{
    (void)buf;
    uint32_t have = crt__atomic_load(&bytes, ACQUIRE);
    EX_ASSERT(!closed_calls);   // the descriptor's number may be somebody else's by now
    for (;;) {
        uint32_t take = have < n ? have : (uint32_t)n;
        if (!take) {
            errno = EAGAIN;
            return -1;
        }
        if (crt__atomic_cas(&bytes, &have, have - take, ACQ_REL, ACQUIRE)) return take;
    }
}
static int model_accept(void)
{
    uint32_t left = crt__atomic_load(&refusals, ACQUIRE);
    if (left && crt__atomic_cas(&refusals, &left, left - 1, ACQ_REL, ACQUIRE)) return errno = EMFILE, -1;
    return 9;
}
static void kernel_closed(crt__fd fd)
{
    (void)fd;
    closed_calls++;
}
static void setup(void)
{
    model_runtime(1);
    model_watch(table, sizeof table);
    memset(table, 0, sizeof table);
    rt.sock_table[0] = table;
    reactor.recv = kernel_recv;
    reactor.closed = kernel_closed;
    model_reactor = &reactor;
    bytes = 0;
    got = unwinds = closed_calls = shut = 0;
    handle = NULL;
    EX_ASSERT(crt__sock_new(&rt, 3, 0, &sock) == 0);
    token = crt__sock_token(sock);
}
// An event reaches whoever is in the driver; there are several who may be, one at a time.
static void event(uint32_t ready)
{
    crt__lock(&rt.driver_lock);
    crt__io_event(&rt, token, ready);
    crt__unlock(&rt.driver_lock);
}
// Bytes arrive, one event each.
static void arrive(void *arg)
{
    for (intptr_t i = 0; i < (intptr_t)arg; i++) {
        crt__atomic_add(&bytes, 1, ACQ_REL);
        event(CRT__READABLE);
    }
}

typedef struct reader {
    int want;
    size_t room;   // of the buffer: short reads say that the kernel has no more
    char buf[4];
} reader;
static crt_poll read_run(void *frame, crt_cx *cx)
{
    reader *self = frame;
    while (self->want > 0) {
        crt_poll n = crt_read(cx, (crt_stream *)sock, self->buf, self->room);
        if (n == CRT_PENDING) return n;
        if (n == CRT_UNWIND) {
            unwinds++;
            return n;
        }
        if (n == CRT_ESHUTDOWN || n == CRT_ECLOSED) {
            shut++;
            return 0;
        }
        EX_ASSERT(n > 0);
        got += (int)n;
        self->want -= (int)n;
    }
    return 0;
}
static crt_task *start_reader(int want, size_t room, bool join)
{
    reader f = {.want = want, .room = room};
    crt_task *t = model_task(read_run, &f, sizeof f, join);
    crt__list_push(&workers[0].fifo, t);
    return t;
}

static void first_poll(void)
{
    crt_cx cx;
    bool from_lifo;
    model_enter(&workers[0], &cx);
    crt__run_task(&workers[0], &cx, crt__next_task(&workers[0], &from_lifo));
    EX_ASSERT(sock->waiters);
}

// --- no edge is lost

static void read_against_events(size_t room)
{
    setup();
    start_reader(2, room, false);
    int a = ex_spawn(arrive, (void *)2);
    model_run_until(&workers[0], 1);
    ex_join(a);
    EX_ASSERT(got == 2 && !sock->waiters);
}
static void full_reads(void) { read_against_events(1); }
static void short_reads(void) { read_against_events(4); }
// Two tasks read from one socket, one byte each. Each edge may wake both.
static void two_readers(void)
{
    setup();
    start_reader(1, 1, false);
    start_reader(1, 1, false);
    int a = ex_spawn(arrive, (void *)2);
    model_run_until(&workers[0], 2);
    ex_join(a);
    EX_ASSERT(got == 2 && !sock->waiters);
}
// A writable edge comes from another thread's turn in the driver: the reader sleeps on.
static void writable(void *arg)
{
    (void)arg;
    event(CRT__WRITABLE);
}
static void events_of_both_kinds(void)
{
    setup();
    start_reader(1, 4, false);
    int a = ex_spawn(arrive, (void *)1), b = ex_spawn(writable, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    EX_ASSERT(got == 1 && (sock->ready & CRT__WRITABLE));
}
// crt_readable and crt_try_read: bits are cleared by whoever meets EAGAIN, on another thread.
static void try_read(void *arg)
{
    char c;
    (void)arg;
    crt_poll n = crt_try_read((crt_stream *)sock, &c, 1);
    EX_ASSERT(n == 1 || n == CRT_EAGAIN);
    got += n == 1;
}
static crt_poll readable_run(void *frame, crt_cx *cx)
{
    (void)frame;
    for (;;) {
        crt_poll r = crt_readable(cx, (crt_stream *)sock);
        if (r) return r;
        char c;
        if (crt_try_read((crt_stream *)sock, &c, 1) == 1) {
            got++;
            return 0;
        }
    }
}
static void clear_against_event(void)
{
    setup();
    crt__list_push(&workers[0].fifo, model_task(readable_run, NULL, 0, false));
    int a = ex_spawn(try_read, NULL), b = ex_spawn(arrive, (void *)2);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    EX_ASSERT(got + (int)bytes == 2);
    EX_ASSERT(!bytes || (sock->ready & CRT__READABLE));   // what is left can still be found
}

// --- the end of a wait, of a socket, of the runtime

// The handle goes at once, so that the end of the task is the end of its memory.
static void abort_and_detach(void *arg)
{
    (void)arg;
    crt_abort(handle);
    crt_detach(&handle);
}
static void event_against_abort(void)
{
    setup();
    handle = model_handle(start_reader(1, 1, true));
    int a = ex_spawn(arrive, (void *)1), b = ex_spawn(abort_and_detach, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    EX_ASSERT(got + unwinds == 1 && !sock->waiters);
}
// The unwind is under way when the event comes: who wakes must be done before the slot goes.
static void event_against_unwind(void)
{
    setup();
    handle = model_handle(start_reader(1, 1, true));
    first_poll();
    abort_and_detach(NULL);
    int a = ex_spawn(arrive, (void *)1);
    model_run_until(&workers[0], 1);
    ex_join(a);
    EX_ASSERT(unwinds == 1 && !sock->waiters);
}
static void close_against_event(void)
{
    setup();
    int a = ex_spawn(arrive, (void *)2);
    crt__sock *old = sock, *next;
    crt__sock_unref(sock);
    EX_ASSERT(closed_calls == 1);
    EX_ASSERT(crt__sock_new(&rt, 4, 0, &next) == 0);
    EX_ASSERT(next == old);   // the record has changed hands
    EX_ASSERT(crt__sock_token(next) != token);
    ex_join(a);
    EX_ASSERT((next->ready & 0xffffffff) == 0);
}
static void close_it(void *arg)
{
    (void)arg;
    crt__sock_unref(sock);
}
static void close_against_reader(void)
{
    setup();
    start_reader(1, 1, false);
    first_poll();   // closing under a read that has not begun is the caller's mistake
    int a = ex_spawn(close_it, NULL), b = ex_spawn(arrive, (void *)1);
    // A stray wake must neither lose the answer nor find the record of somebody else.
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    EX_ASSERT(shut + got == 1 && !table[0].waiters && closed_calls == 1);
}
static void two_handles(void)
{
    setup();
    crt__atomic_add(&sock->refs, 1, RELAXED);   // crt_stream_clone
    int a = ex_spawn(close_it, NULL), b = ex_spawn(close_it, NULL);
    ex_join(a), ex_join(b);
    EX_ASSERT(closed_calls == 1 && rt.sock_free == sock && rt.refs == 2);
}
static void shut_down(void *arg)
{
    (void)arg;
    crt__sock_shutdown_all(&rt);
}
static void shutdown_against_wait(void)
{
    setup();
    start_reader(2, 1, false);
    int a = ex_spawn(shut_down, NULL), b = ex_spawn(arrive, (void *)1);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    EX_ASSERT(shut == 1 && !sock->waiters);
}
// Made by a thread outside while the runtime ends: whoever waits on it must hear of that.
static void end_sockets(void *arg)
{
    (void)arg;
    crt__atomic_store(&rt.ended, 1, SEQ_CST);
    crt__sock_shutdown_all(&rt);
}
static void made_while_it_ends(void)
{
    crt__sock *s[2];
    setup();
    int a = ex_spawn(end_sockets, NULL);
    for (int i = 0; i < 2; i++) EX_ASSERT(crt__sock_new(&rt, 4 + i, 0, &s[i]) == 0);
    ex_join(a);
    for (int i = 0; i < 2; i++) EX_ASSERT(s[i]->ready & CRT__IO_SHUTDOWN);
}

// --- accept without descriptors looks again after a pause: a timer beside the wait

static crt_poll accept_run(void *frame, crt_cx *cx)
{
    crt_stream *made;
    (void)frame;
    crt_poll r = crt_accept(cx, (crt_listener *)sock, &made, NULL);
    if (r == CRT_PENDING) return r;
    EX_ASSERT(r == 0 || r == CRT_ECLOSED || r == CRT_UNWIND);
    got += r == 0;
    shut += r == CRT_ECLOSED;
    unwinds += r == CRT_UNWIND;
    crt_close(&made);
    return r == CRT_UNWIND ? r : 0;
}
// The thread in the driver: time jumps to the next timer.
static void time_passes(void *arg)
{
    (void)arg;
    while (!crt__atomic_load(&workers[0].completed, RELAXED)) {
        uint64_t next = crt__atomic_load(&workers[0].wheel.next, ACQUIRE);
        if (next == UINT64_MAX) {
            crt__cpu_relax();
            continue;
        }
        if ((int64_t)next * 1000000 > model_now) model_now = (int64_t)next * 1000000;
        crt__wheels_serve_all(&rt);
    }
}
static void start_pause(bool join)
{
    setup();
    refusals = 1;
    crt_task *t = model_task(accept_run, NULL, 0, join);
    if (join) handle = model_handle(t);
    crt__list_push(&workers[0].fifo, t);
    event(CRT__READABLE);
    crt_cx cx;
    bool from_lifo;
    model_enter(&workers[0], &cx);
    crt__run_task(&workers[0], &cx, crt__next_task(&workers[0], &from_lifo));
    EX_ASSERT(!sock->waiters && !refusals);
}
static void pause_ends(int a, int b)
{
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    EX_ASSERT(got + shut + unwinds == 1 && !workers[0].wheel.occupied[0]);
    EX_ASSERT(closed_calls == got + (sock->refs == 0));
}
static void pause_against_close(void)
{
    start_pause(false);
    int a = ex_spawn(time_passes, NULL), b = ex_spawn(close_it, NULL);
    pause_ends(a, b);
}
static void pause_against_abort(void)
{
    start_pause(true);
    int a = ex_spawn(time_passes, NULL), b = ex_spawn(abort_and_detach, NULL);
    pause_ends(a, b);
}

static const model models[] = {
    {.name = "events against reads that fill the buffer", .run = full_reads, .spurious_cas = 1},
    {.name = "events against short reads", .run = short_reads, .spurious_cas = 1},
    {.name = "two readers of one socket", .run = two_readers},
    {.name = "readable and writable at once", .run = events_of_both_kinds, .spurious_cas = 1},
    {.name = "readiness is cleared while an event comes", .run = clear_against_event},
    {.name = "an event against an abort", .run = event_against_abort},
    {.name = "an event against an unwind that has begun", .run = event_against_unwind},
    {.name = "late events against close and a new socket", .run = close_against_event, .spurious_cas = 1},
    {.name = "close under a waiting reader, with an event", .run = close_against_reader},
    {.name = "the last of two handles closes", .run = two_handles},
    {.name = "shutdown against a wait and an event", .run = shutdown_against_wait},
    {.name = "sockets are made while the runtime ends", .run = made_while_it_ends},
    {.name = "accept out of descriptors: its pause against a close", .run = pause_against_close},
    {.name = "accept out of descriptors: its pause against an abort", .run = pause_against_abort},

    {.name = "seed: clearing ignores newer events", .run = full_reads,
     .seed = {"crt__ready_clear", "cas &s->ready", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: the word is locked in two steps", .run = close_against_event,
     .seed = {"crt__sock_lock", "cas &s->ready", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: a newer tick is taken for spent", .run = short_reads,
     .seed = {"crt__unspent", "load &s->spent", MODEL_VALUE, CRT__SPENT | 2, NULL, 0}},
    {.name = "seed: the word is let go without a release", .run = full_reads,
     .seed = {"crt__sock_unlock_as", "store &s->ready", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: waiting does not look again", .run = full_reads,
     .seed = {"crt__io_park", "load &s->ready", MODEL_VALUE, 0, NULL, 0}},
    {.name = "seed: a cancelled wait takes no lock", .run = event_against_unwind,
     .seed = {"crt__sock_lock", "cas &s->ready", MODEL_SKIP, 0, NULL, 1}},
    {.name = "seed: close does not begin a new generation", .run = close_against_event,
     .seed = {"crt__ready_reset", "load &s->ready", MODEL_VALUE, (uint64_t)UINT32_MAX << 32, NULL, 0}},
    {.name = "seed: handles are counted in two steps", .run = two_handles,
     .seed = {"crt__sock_unref", "sub &s->refs", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: who goes on after a wait takes a handle in two steps", .run = close_against_reader,
     .seed = {"crt__sock_ref_live", "cas &s->refs", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: who makes a socket does not look whether the runtime has ended", .run = made_while_it_ends,
     .seed = {"crt__sock_watch", "load &rt->ended", MODEL_VALUE, 0, NULL, 0}},
    {.name = "seed: a pause is given up without the wheel's lock", .run = pause_against_abort,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, &workers[0].wheel.lock, 1}},
};
MODEL_MAIN(models)
