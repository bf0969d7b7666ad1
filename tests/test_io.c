// Readiness, waiting and transfer: the readiness word by itself, then streams and
// plain descriptors on three runtimes.
#define CRT_PLATFORM_HEADER "faulty_platform.h"   // counts the system calls
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#define MOST ((size_t)(sizeof(size_t) > 4 ? UINT32_MAX : INT32_MAX))   // bytes in one call

#include <fcntl.h>
#include <pthread.h>
#ifdef __linux__
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#endif

// ---- tools ----------------------------------------------------------------

#define fd_count test_fd_count
// Full for good: where a pair is TCP (Windows), some of it goes on to the other side meanwhile.
static void fill_stream(crt_stream *s, const void *data, size_t n)
{
    for (int i = 0; i < 5; i++) {
        if (i) test_pause_us(2000);
        while (crt_try_write(s, data, n) > 0 || crt_try_write(s, data, 1) > 0) {}
    }
}
static void fill_pipe(int fd, const void *data, size_t n)
{
    for (int i = 0; i < 5; i++) {
        if (i) test_pause_us(2000);
        while (write(fd, data, n) > 0 || write(fd, data, 1) > 0) {}
    }
}
static uint64_t ready_of(crt_stream *s) { return crt__atomic_load(&((crt__sock *)s)->ready, CRT__ACQUIRE); }
static int waiters_of(crt__sock *s)
{
    int n = 0;
    crt__sock_lock(s);
    for (crt_slot *slot = s->waiters; slot; slot = slot->next) n++;
    crt__sock_unlock(s);
    return n;
}
// How many slots are parked on descriptors of this runtime.
static int waiters_in(crt_runtime *rt)
{
    int n = 0;
    crt__lock(&rt->sock_lock);
    uint32_t count = rt->sock_count;
    crt__unlock(&rt->sock_lock);
    for (uint32_t i = 0; i < count; i++) n += waiters_of(crt__sock_at(rt, i));
    return n;
}
typedef struct until {
    crt_frame co;
} until;
// Waits until n slots are parked on descriptors.
static crt_poll until_parked(until *self, crt_cx *cx, int n)
{
    CRT_BEGIN(self, cx);
    while (waiters_in(cx->rt) != n) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CRT_END;
}

// A task that awaits one operation and returns its result.
typedef enum { READ, READ_EXACT, WRITE, WRITE_ALL, READABLE, WRITABLE, ACCEPT, CONNECT, FD_READABLE, FD_WRITABLE } op;
typedef struct once {
    crt_frame co;
    op op;
    crt_stream *s, *made;
    crt_listener *l;
    const char *address;
    int fd;
    void *buf;
    size_t n;
    crt_poll r;
    crt_stream **shared;   // instead of s
    bool owns;             // s is closed at the end
} once;
static crt_poll once_op(once *o, crt_cx *cx)
{
    crt_stream *s = o->shared ? *o->shared : o->s;
    switch (o->op) {
    case READ: return crt_read(cx, s, o->buf, o->n);
    case READ_EXACT: return crt_read_exact(cx, s, o->buf, o->n);
    case WRITE: return crt_write(cx, s, o->buf, o->n);
    case WRITE_ALL: return crt_write_all(cx, s, o->buf, o->n);
    case READABLE: return crt_readable(cx, s);
    case WRITABLE: return crt_writable(cx, s);
    case ACCEPT: return crt_accept(cx, o->l, &o->made, NULL);
    case CONNECT: return crt_tcp_connect(cx, o->address, &o->made);
    case FD_READABLE: return crt_fd_readable(cx, o->fd);
    case FD_WRITABLE: return crt_fd_writable(cx, o->fd);
    }
    return CRT_EINVAL;
}
static crt_poll once_run(void *frame, crt_cx *cx)
{
    once *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = once_op(self, cx));
    CRT_RETURN(self->r);
    CRT_FINALLY
        crt_close(&self->made);
        if (self->owns) crt_close(&self->s);
    CRT_END;
}

// Byte i of a stream of test data; no short period, so that lost and swapped bytes show.
static unsigned char pattern(size_t i) { return (unsigned char)((i * 2654435761u) >> 13 ^ i); }
static unsigned char *patterned(size_t n)
{
    unsigned char *p = malloc(n);
    for (size_t i = 0; i < n; i++) p[i] = pattern(i);
    return p;
}

// A TCP pair over loopback: crt_stream_pair is a Unix socket, and the two differ.
typedef struct tcp_pair {
    crt_frame co;
    crt_listener *l;
    crt_stream *client, *server;
    char address[64];
    CRT_SELECT(2) both;
    crt_poll r, c, a;
} tcp_pair;
static crt_poll tcp_pair_run(tcp_pair *self, crt_cx *cx, crt_stream **a, crt_stream **b)
{
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    {
        crt_addr addr;
        crt_local_addr(self->l, &addr);
        crt_addr_format(&addr, self->address, sizeof self->address);
    }
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->c = crt_tcp_connect(cx, self->address, &self->client)),
        crt_on(cx, 1, self->a = crt_accept(cx, self->l, &self->server, NULL))));
    CHECK_EQ(self->c, 0);
    CHECK_EQ(self->a, 0);
    *a = self->client;
    *b = self->server;
    CRT_FINALLY
        crt_close(&self->l);
    CRT_END;
}

// Most roots: two streams, some tasks, a few numbers.
typedef struct root {
    crt_frame co;
    crt_stream *a, *b, *c, *d;
    crt_listener *l;
    crt_join_handle *join[40];
    tcp_pair tcp;
    until until;
    crt_timer timer;
    CRT_SELECT(2) sel;
    intptr_t result;
    crt_poll r, which;
    uint64_t token;
    int i, k, fds, pipe[2];
    size_t n;
    unsigned char *data;
    char buf[64];
    char address[64];
} root;
static void close_all(root *self)
{
    crt_close(&self->a);
    crt_close(&self->b);
    crt_close(&self->c);
    crt_close(&self->d);
    crt_close(&self->l);
    for (int i = 0; i < 40; i++) crt_detach(&self->join[i]);
}
// Runs a root, and checks that it leaves no descriptor and no waiter.
static void run_root(crt_runtime *rt, crt_fn fn)
{
    root *r = calloc(1, sizeof *r);
    int fds = fd_count();
    CHECK_EQ(crt_block_on(rt, fn, r), 0);
    CHECK_EQ(fd_count(), fds);
    CHECK_EQ(waiters_in(rt), 0);
    free(r);
}
// A join that does not hang the test when the task does.
#define JOIN(handle)                                                                             \
    do {                                                                                         \
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(20), crt_join(cx, &(handle), &self->result))); \
        if (self->r == CRT_ETIMEDOUT) crt_abort(handle);                                         \
    } while (0)
#define JOINED(handle, value)                                                                    \
    do {                                                                                         \
        JOIN(handle);                                                                            \
        CHECK_EQ(self->r, 0);                                                                    \
        if (self->r == 0) CHECK_EQ(self->result, value);                                         \
    } while (0)

// ---- the readiness word ----------------------------------------------------
// On the current thread nobody else touches the word between two awaits.

static crt_poll word_clear_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    {
        crt__sock *s = (crt__sock *)self->a;
        uint64_t token = crt__sock_token(s), seen = ready_of(self->a);
        CHECK_EQ(seen & 0xffff, CRT__WRITABLE);
        crt__io_event(cx->rt, token, CRT__READABLE);
        crt__ready_clear(s, seen, CRT__READABLE);   // looked before the event came
        CHECK(ready_of(self->a) & CRT__READABLE);

        // The same bits again: still a newer edge.
        seen = ready_of(self->a);
        crt__io_event(cx->rt, token, CRT__READABLE);
        CHECK(ready_of(self->a) != seen);
        crt__ready_clear(s, seen, CRT__READABLE | CRT__WRITABLE);
        CHECK_EQ(ready_of(self->a) & 0xffff, CRT__READABLE | CRT__WRITABLE);

        seen = ready_of(self->a);
        crt__ready_clear(s, seen, CRT__READABLE);
        CHECK_EQ(ready_of(self->a), seen & ~(uint64_t)CRT__READABLE);
        // Another bit cleared since: the tick is the same, both clears hold.
        crt__ready_clear(s, seen, CRT__WRITABLE);
        CHECK_EQ(ready_of(self->a) & 0xffff, 0);
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void a_clear_never_erases_a_newer_edge(crt_runtime *rt) { run_root(rt, word_clear_run); }

static crt_poll word_wrap_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    {
        crt__sock *s = (crt__sock *)self->a;
        uint64_t token = crt__sock_token(s), begin = ready_of(self->a);
        const uint64_t most = 0xffffff, of = begin >> 40 << 40;
        for (int i = 0; i < 66000; i++) {   // more than 16 bits hold
            crt__io_event(cx->rt, token, CRT__WRITABLE);
            if (i % 1111) continue;
            crt__ready_clear(s, begin, CRT__WRITABLE);   // old by now
            CHECK(ready_of(self->a) & CRT__WRITABLE);
        }
        CHECK_EQ(ready_of(self->a), of | ((begin >> 16 & most) + 66000) << 16 | CRT__WRITABLE);
        crt__sock_lock(s);
        crt__sock_unlock_as(s, of | most << 16 | CRT__WRITABLE);
        crt__io_event(cx->rt, token, CRT__READABLE);   // the tick goes round
        CHECK_EQ(ready_of(self->a), of | CRT__WRITABLE | CRT__READABLE);   // nothing ran over into the generation
        CHECK_EQ(crt__sock_token(s), token);
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void the_tick_wraps_without_touching_the_generation(crt_runtime *rt) { run_root(rt, word_wrap_run); }

static crt_poll word_stale_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    self->token = crt__sock_token((crt__sock *)self->a);
    self->n = (size_t)self->a;
    crt_close(&self->b);
    crt_close(&self->a);
    crt__io_event(cx->rt, self->token, CRT__READABLE);   // to a free record
    CHECK_EQ(crt_stream_pair(cx, &self->c, &self->d), 0);
    CHECK_EQ((size_t)self->c, self->n);   // the same record
    CHECK(crt__sock_token((crt__sock *)self->c) != self->token);
    CHECK_EQ(ready_of(self->c) & 0xffffffff, CRT__WRITABLE);
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], once_run,
        &(once){.op = READ, .s = self->c, .buf = self->buf, .n = sizeof self->buf}), 0);
    CRT_AWAIT(until_parked(&self->until, cx, 1));
    crt__io_event(cx->rt, self->token, 0xff & ~CRT__IO_SHUTDOWN);
    CHECK_EQ(ready_of(self->c) & (0xff & ~CRT__WRITABLE), 0);
    CHECK_EQ(waiters_in(cx->rt), 1);   // it was not woken either
    CHECK_EQ(crt_try_write(self->d, "ab", 2), 2);
    JOINED(self->join[0], 2);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void a_stale_event_does_not_reach_a_reused_record(crt_runtime *rt) { run_root(rt, word_stale_run); }

static crt_poll word_reuse_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 300; self->i++) {
        CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
        CHECK_EQ(ready_of(self->a) & 0xffffffff, CRT__WRITABLE);   // no bits of the last owner
        CHECK_EQ(waiters_of((crt__sock *)self->a), 0);
        CHECK_EQ(crt_try_write(self->a, "xyz", 3), 3);
        CRT_AWAIT(self->r = crt_read(cx, self->b, self->buf, sizeof self->buf));
        CHECK_EQ(self->r, 3);
        crt_close(&self->a);
        if (self->i % 2) CRT_AWAIT(self->r = crt_read(cx, self->b, self->buf, sizeof self->buf));
        crt_close(&self->b);
        if (self->i == 0) self->n = cx->rt->sock_count;
    }
    CHECK_EQ(cx->rt->sock_count, self->n);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void records_are_reused_and_start_clean(crt_runtime *rt) { run_root(rt, word_reuse_run); }

static crt_poll word_sticky_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    {
        uint64_t token = crt__sock_token((crt__sock *)self->a);
        ((crt__sock *)self->a)->flags = 0;   // as those of TCP are
        // A short read takes READABLE, unless it may have stopped at urgent data, and leaves
        // READ_CLOSED: the end is still to be read.
#ifdef CRT__URGENT_UNTOLD
        const uint32_t left = CRT__READABLE | CRT__WRITABLE | CRT__READ_CLOSED;
#else
        const uint32_t left = CRT__WRITABLE | CRT__READ_CLOSED;
#endif
        crt__io_event(cx->rt, token, CRT__READABLE | CRT__READ_CLOSED);
        CHECK_EQ(crt_try_write(self->b, "abc", 3), 3);
        CHECK_EQ(crt_try_read(self->a, self->buf, sizeof self->buf), 3);
        CHECK_EQ(crt__ready_now((crt__sock *)self->a) & 0xffff, left);
        // That bit was a lie; EAGAIN says so. WRITABLE is another matter.
        CHECK_EQ(crt_try_read(self->a, self->buf, sizeof self->buf), CRT_EAGAIN);
        CHECK_EQ(crt_try_read(self->a, NULL, 0), 0);   // as crt_read: nothing asked for is had at once
        CHECK_EQ(crt_try_writev(self->a, &((crt_iovec){NULL, 0}), 1), 0);
        CHECK_EQ(ready_of(self->a) & 0xffff, CRT__WRITABLE);
        // The end of the runtime is never erased.
        crt__ready_set((crt__sock *)self->a, CRT__IO_SHUTDOWN);
        CHECK_EQ(crt_try_read(self->a, self->buf, 1), CRT_ESHUTDOWN);
        CHECK_EQ(crt_try_write(self->a, self->buf, 1), CRT_ESHUTDOWN);
        // Not even by one who looked before it came: it counts no tick.
        crt__ready_clear((crt__sock *)self->a, ready_of(self->a) & ~(uint64_t)CRT__IO_SHUTDOWN, CRT__FOR_READ);
        CHECK(ready_of(self->a) & CRT__IO_SHUTDOWN);
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void closed_bits_stay_until_they_prove_untrue(crt_runtime *rt) { run_root(rt, word_sticky_run); }

// An edge that comes while a task is about to park: the recheck under the lock sees it.
static crt_poll word_park_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    {
        crt__sock *s = (crt__sock *)self->a;
        crt__io_event(cx->rt, crt__sock_token(s), CRT__READABLE);
        CHECK_EQ(crt__io_park(cx, s, &crt__op_read, CRT__FOR_READ), 0);
        CHECK_EQ(waiters_of(s), 0);
        CHECK_EQ(crt_try_read(self->a, self->buf, 1), CRT_EAGAIN);
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void parking_looks_again_under_the_lock(crt_runtime *rt) { run_root(rt, word_park_run); }

// ---- close -----------------------------------------------------------------

static crt_poll close_parked_run(void *frame, crt_cx *cx)
{
    static const op reads[] = {READ, READ_EXACT, READABLE};
    static const op writes[] = {WRITE, WRITE_ALL, WRITABLE};
    root *self = frame;
    CRT_BEGIN(self, cx);
    self->n = 1 << 22;
    self->data = calloc(1, self->n);
    for (self->k = 0; self->k < 2; self->k++) {   // a Unix pair, then TCP
        if (self->k) CRT_AWAIT(tcp_pair_run(&self->tcp, cx, &self->a, &self->b));
        else CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
        while (crt_try_write(self->a, self->data, self->n) > 0) {}   // full
        for (self->i = 0; self->i < 6; self->i++)
            CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], once_run,
                &(once){.op = self->i < 3 ? reads[self->i] : writes[self->i - 3], .s = self->a,
                        .buf = self->data, .n = self->n}), 0);
        // Late readiness for writing is possible on TCP while buffers grow, and may be under way
        // since before it was full: that ends a wait for nothing but readiness.
        CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
        CRT_AWAIT(until_parked(&self->until, cx, self->k ? waiters_in(cx->rt) : 6 - crt_is_finished(self->join[5])));
        crt_close(&self->a);
        CHECK(self->a == NULL);
        for (self->i = 0; self->i < 6; self->i++) {
            JOIN(self->join[self->i]);
            CHECK_EQ(self->r, 0);
            if (self->i < 3 || !self->k) CHECK(self->result == CRT_ECLOSED || (self->i == 5 && self->result == 0));
        }
        crt_close(&self->b);
    }
    CRT_FINALLY
        free(self->data);
        close_all(self);
    CRT_END;
}
static void closing_wakes_the_parked_with_closed(crt_runtime *rt) { run_root(rt, close_parked_run); }

static crt_poll close_accept_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    CHECK_EQ(self->r, 0);
    for (self->i = 0; self->i < 3; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], once_run, &(once){.op = ACCEPT, .l = self->l}), 0);
    CRT_AWAIT(until_parked(&self->until, cx, 3));
    crt_close(&self->l);
    for (self->i = 0; self->i < 3; self->i++) JOINED(self->join[self->i], CRT_ECLOSED);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void closing_a_listener_wakes_its_acceptors(crt_runtime *rt) { run_root(rt, close_accept_run); }

// Out of descriptors, the acceptor waits on a timer and not on the listener: it has to
// find out all the same.
static crt_poll close_pausing_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    fault_count();
    fault_always(FAULT_ACCEPT, EMFILE);
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], once_run, &(once){.op = ACCEPT, .l = self->l}), 0);
    while (fault_calls(FAULT_ACCEPT) < 2) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    crt_close(&self->l);
    CHECK_EQ(crt_stream_pair(cx, &self->c, &self->d), 0);   // may take over record and descriptor
    JOINED(self->join[0], CRT_ECLOSED);
    fault_always(FAULT_ACCEPT, 0);
    CRT_FINALLY
        fault_always(FAULT_ACCEPT, 0);
        close_all(self);
    CRT_END;
}
static void closing_a_listener_that_waits_for_descriptors(crt_runtime *rt) { run_root(rt, close_pausing_run); }

// The readiness came and the task is on its way to the worker when the stream is closed.
// It must not touch the record any more, which may belong to another stream by then.
static crt_poll close_woken_run(void *frame, crt_cx *cx)
{
    static const op ops[] = {READ, READ_EXACT, READABLE};
    root *self = frame;
    CRT_BEGIN(self, cx);
    for (self->k = 0; self->k < 6; self->k++) {
        CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
        memset(self->buf, 0, sizeof self->buf);
        CHECK_EQ(crt_spawn_join(cx, &self->join[0], once_run,
            &(once){.op = ops[self->k / 2], .s = self->a, .buf = self->buf, .n = 6}), 0);
        CRT_AWAIT(until_parked(&self->until, cx, 1));
        crt__io_event(cx->rt, crt__sock_token((crt__sock *)self->a), CRT__READABLE);
        self->n = (size_t)self->a;
        crt_close(&self->a);
        if (self->k % 2) {
            CHECK_EQ(crt_stream_pair(cx, &self->c, &self->d), 0);
            CHECK_EQ((size_t)self->c, self->n);
            CHECK_EQ(crt_try_write(self->d, "secret", 6), 6);
        }
        JOINED(self->join[0], CRT_ECLOSED);
        CHECK_EQ(self->buf[0], 0);
        crt_close(&self->b);
        crt_close(&self->c);
        crt_close(&self->d);
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void closing_between_wake_and_poll_gives_closed(crt_runtime *rt) { run_root(rt, close_woken_run); }

// The reader is out of budget, not parked on the stream, when it is closed.
typedef struct reader {
    crt_frame co;
    crt_stream *s;
    crt_poll r;
    int count;
    int *counted;
    char c;
} reader;
static crt_poll reader_run(void *frame, crt_cx *cx)
{
    reader *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = crt_read(cx, self->s, &self->c, 1));
        if (self->r <= 0) CRT_RETURN(self->r);
        ++*self->counted;
    }
    CRT_END;
}
static int read_so_far;
static crt_poll close_budget_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    self->data = calloc(1, 1000);
    CHECK_EQ(crt_try_write(self->b, self->data, 1000), 1000);
    read_so_far = 0;
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], reader_run, &(reader){.s = self->a, .counted = &read_so_far}), 0);
    while (!read_so_far) CRT_YIELD();
    CHECK(read_so_far < 1000);   // it yields, though there was always something to read
    self->n = (size_t)self->a;
    crt_close(&self->a);
    CHECK_EQ(crt_stream_pair(cx, &self->c, &self->d), 0);
    CHECK_EQ(crt_try_write(self->d, "secret", 6), 6);
    JOINED(self->join[0], CRT_ECLOSED);
    CHECK(read_so_far <= 129);
    CRT_FINALLY
        free(self->data);
        close_all(self);
    CRT_END;
}
static void closing_while_out_of_budget_gives_closed(crt_runtime *rt) { run_root(rt, close_budget_run); }

// The task reads through a pointer that crt_close sets to NULL.
static crt_stream *shared_stream;
static crt_poll close_shared_run(void *frame, crt_cx *cx)
{
    static const op ops[] = {READ, READ_EXACT, READABLE};
    root *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 3; self->i++) {
        CHECK_EQ(crt_stream_pair(cx, &shared_stream, &self->b), 0);
        CHECK_EQ(crt_spawn_join(cx, &self->join[0], once_run,
            &(once){.op = ops[self->i], .shared = &shared_stream, .buf = self->buf, .n = 8}), 0);
        CRT_AWAIT(until_parked(&self->until, cx, 1));
        crt_close(&shared_stream);
        JOINED(self->join[0], CRT_ECLOSED);
        crt_close(&self->b);
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void closing_a_shared_pointer_gives_closed(crt_runtime *rt) { run_root(rt, close_shared_run); }

static crt_poll close_clone_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], once_run,
        &(once){.op = READ, .s = crt_stream_clone(self->a), .owns = true, .buf = self->buf, .n = 8}), 0);
    CRT_AWAIT(until_parked(&self->until, cx, 1));
    crt_close(&self->a);   // not the last handle: the reader goes on
    crt_close(&self->a);   // and closing nothing does nothing
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CHECK(!crt_is_finished(self->join[0]));
    CHECK_EQ(crt_try_write(self->b, "hello", 5), 5);
    JOINED(self->join[0], 5);
    CRT_AWAIT(self->r = crt_read(cx, self->b, self->buf, 1));   // its clone was the last
    CHECK_EQ(self->r, 0);
    CHECK(crt_stream_clone(NULL) == NULL);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void the_descriptor_closes_with_the_last_clone(crt_runtime *rt) { run_root(rt, close_clone_run); }

static void *closer_main(void *arg)
{
    test_pause_us(2000);
    crt_close((crt_stream **)arg);
    return NULL;
}
static crt_poll close_thread_run(void *frame, crt_cx *cx)
{
    static pthread_t thread;
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], once_run,
        &(once){.op = READ, .s = self->a, .buf = self->buf, .n = 8}), 0);
    CRT_AWAIT(until_parked(&self->until, cx, 1));
    pthread_create(&thread, NULL, closer_main, &self->a);
    JOINED(self->join[0], CRT_ECLOSED);
    pthread_join(thread, NULL);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void a_plain_thread_may_close(crt_runtime *rt) { run_root(rt, close_thread_run); }

// ---- cancellation ------------------------------------------------------------

static crt_poll cancel_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    self->n = 1 << 22;
    self->data = calloc(1, self->n);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    fill_stream(self->a, self->data, self->n);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", &(crt_listen_desc){.backlog = 1}, &self->l));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(test_pipe(self->pipe), 0);
    for (int i = 0; i < 2; i++) CHECK_EQ(fcntl(self->pipe[i], F_SETFL, O_NONBLOCK), 0);
    fill_pipe(self->pipe[1], self->data, 65536);
    CHECK_EQ(crt_stream_pair(cx, &self->c, &self->d), 0);
    self->fds = fd_count();
    for (self->k = 0; self->k < 3; self->k++) {
        for (self->i = 0; self->i < 9; self->i++) {
            op o = (op)self->i;
            if (o == CONNECT) o = FD_READABLE;   // see below
            CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], once_run,
                &(once){.op = o, .s = self->a, .l = self->l, .buf = self->data, .n = self->n,
                        .fd = (int)crt_stream_fd(self->c)}), 0);
        }
        CHECK_EQ(crt_spawn_join(cx, &self->join[9], once_run, &(once){.op = FD_WRITABLE, .fd = self->pipe[1]}), 0);
        CRT_AWAIT(until_parked(&self->until, cx, 10));
        // Cancelled from the middle outwards: the list of waiters survives any order.
        for (self->i = 0; self->i < 10; self->i++) crt_abort(self->join[(self->i * 3 + self->k + 4) % 10]);
        for (self->i = 0; self->i < 10; self->i++) {
            JOIN(self->join[self->i]);
            CHECK_EQ(self->r, CRT_ECANCELED);
        }
        CHECK_EQ(waiters_in(cx->rt), 0);
        CHECK_EQ(fd_count(), self->fds);
    }
    // What is left still works.
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], once_run,
        &(once){.op = READ, .s = self->c, .buf = self->buf, .n = 8}), 0);
    CRT_AWAIT(until_parked(&self->until, cx, 1));
    CHECK_EQ(crt_try_write(self->d, "abc", 3), 3);
    JOINED(self->join[0], 3);
    CRT_FINALLY
        free(self->data);
        if (self->pipe[1]) close(self->pipe[0]), close(self->pipe[1]);
        close_all(self);
    CRT_END;
}
static void cancelling_leaves_no_waiter_and_no_descriptor(crt_runtime *rt) { run_root(rt, cancel_run); }

// A listener whose queue is full does not answer: connects stay under way.
static crt_poll cancel_connect_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", &(crt_listen_desc){.backlog = 1}, &self->l));
    {
        crt_addr a;
        CHECK_EQ(crt_local_addr(self->l, &a), 0);
        CHECK(crt_addr_format(&a, self->address, sizeof self->address) > 0);
    }
    self->fds = fd_count();
    for (self->i = 0; self->i < 10; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], once_run,
            &(once){.op = CONNECT, .address = self->address}), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(20)));
    for (self->k = -1; self->k < 10 && self->n < 5000; self->n++) {   // each waits, or is through
        CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
        self->k = waiters_in(cx->rt);
        for (int i = 0; i < 10; i++) self->k += crt_is_finished(self->join[i]);
    }
    self->k = waiters_in(cx->rt);
    CHECK(self->k >= 5);   // under way
    CHECK_EQ(fd_count(), self->fds + self->k);
    // One more, cancelled by a time-out.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_tcp_connect(cx, self->address, &self->a)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK(self->a == NULL);
    CHECK_EQ(fd_count(), self->fds + self->k);
    for (self->i = 0; self->i < 10; self->i++) crt_abort(self->join[self->i]);
    for (self->i = self->n = 0; self->i < 10; self->i++) {
        JOIN(self->join[self->i]);
        self->n += self->r == CRT_ECANCELED;
    }
    CHECK_EQ(self->n, self->k);
    CHECK_EQ(fd_count(), self->fds);
    CHECK_EQ(waiters_in(cx->rt), 0);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void cancelling_a_connect_closes_its_descriptor(crt_runtime *rt) { run_root(rt, cancel_connect_run); }

static crt_poll lost_select_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    CHECK_EQ(crt_stream_pair(cx, &self->c, &self->d), 0);
    for (self->i = 0; self->i < 20; self->i++) {
        CHECK_EQ(crt_try_write(self->i % 2 ? self->d : self->b, "x", 1), 1);
        self->r = self->result = CRT_UNWIND;   // of an arm that is not even polled
        CRT_AWAIT(self->which = crt_select(cx, &self->sel,
            crt_on(cx, 0, self->r = crt_read(cx, self->a, self->buf, 8)),
            crt_on(cx, 1, self->result = crt_read(cx, self->c, self->buf + 8, 8))));
        CHECK_EQ(self->which, self->i % 2);
        CHECK_EQ(self->which ? self->result : self->r, 1);
        CHECK_EQ(self->which ? self->r : self->result, CRT_UNWIND);
        CHECK_EQ(waiters_in(cx->rt), 0);
    }
    // A read that timed out has taken nothing.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(2), crt_read(cx, self->a, self->buf, 8)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(waiters_in(cx->rt), 0);
    CHECK_EQ(crt_try_write(self->b, "data", 4), 4);
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 8));
    CHECK_EQ(self->r, 4);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void losing_reads_are_unlinked_and_take_no_bytes(crt_runtime *rt) { run_root(rt, lost_select_run); }

// ---- several tasks on one stream ----------------------------------------------

typedef struct pump {   // writes or reads the pattern
    crt_frame co;
    crt_stream *s;
    unsigned char *data;
    size_t n, done;
    crt_poll r;
    bool writes, shut;
} pump;
static crt_poll pump_run(void *frame, crt_cx *cx)
{
    pump *self = frame;
    CRT_BEGIN(self, cx);
    self->data = self->writes ? patterned(self->n) : calloc(1, self->n + 1);
    if (self->writes) {
        // The idiom of an echo: the variable that receives the result is also the length.
        self->r = (crt_poll)self->n;
        CRT_AWAIT(self->r = crt_write_all(cx, self->s, self->data, (size_t)self->r));
        CHECK_EQ(self->r, self->n);
        if (self->shut) CRT_AWAIT(self->r = crt_shutdown(cx, self->s));
    } else {
        while (self->done < self->n) {
            CRT_AWAIT(self->r = crt_read(cx, self->s, self->data + self->done, self->n - self->done));
            if (self->r <= 0) break;
            self->done += (size_t)self->r;
        }
        CHECK_EQ(self->done, self->n);
        {
            size_t bad = 0;
            for (size_t i = 0; i < self->done; i++) bad += self->data[i] != pattern(i);
            CHECK_EQ(bad, 0);
        }
        if (self->shut) {   // the end, again and again
            CRT_AWAIT(self->r = crt_read(cx, self->s, self->data, 1));
            CHECK_EQ(self->r, 0);
            CRT_AWAIT(self->r = crt_read(cx, self->s, self->data, 1));
            CHECK_EQ(self->r, 0);
            CHECK_EQ(crt_try_read(self->s, self->data, 1), 0);
            CRT_AWAIT(self->r = crt_readable(cx, self->s));
            CHECK_EQ(self->r, 0);
            CRT_AWAIT(self->r = crt_read_exact(cx, self->s, self->data, 1));
            CHECK_EQ(self->r, CRT_EEOF);
        }
    }
    CRT_RETURN(0);
    CRT_FINALLY
        free(self->data);
        self->data = NULL;
        crt_close(&self->s);
    CRT_END;
}

// Both directions of one stream at once, by four tasks, through small buffers.
static crt_poll duplex_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    for (self->k = 0; self->k < 2; self->k++) {
        if (self->k) CRT_AWAIT(tcp_pair_run(&self->tcp, cx, &self->a, &self->b));
        else CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
        CHECK_EQ(crt_stream_set_send_buffer(self->a, 8192), 0);
        CHECK_EQ(crt_stream_set_send_buffer(self->b, 8192), 0);
        self->n = 1 << 20;
        CHECK_EQ(crt_spawn_join(cx, &self->join[0], pump_run,
            &(pump){.s = crt_stream_clone(self->a), .n = self->n, .writes = true, .shut = true}), 0);
        CHECK_EQ(crt_spawn_join(cx, &self->join[1], pump_run, &(pump){.s = self->a, .n = self->n, .shut = true}), 0);
        CHECK_EQ(crt_spawn_join(cx, &self->join[2], pump_run,
            &(pump){.s = crt_stream_clone(self->b), .n = self->n, .writes = true, .shut = true}), 0);
        CHECK_EQ(crt_spawn_join(cx, &self->join[3], pump_run, &(pump){.s = self->b, .n = self->n, .shut = true}), 0);
        self->a = self->b = NULL;
        for (self->i = 0; self->i < 4; self->i++) JOINED(self->join[self->i], 0);
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void a_reader_and_a_writer_at_once(crt_runtime *rt) { run_root(rt, duplex_run); }

// The smallest buffers that the kernel gives: each operation goes on over many wakes.
#ifdef _WIN32
#define OVER_TCP(k) true   // pairs, too
#else
#define OVER_TCP(k) ((k) != 0)
#endif
static crt_poll tiny_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    for (self->k = 0; self->k < 2; self->k++) {
        if (self->k) CRT_AWAIT(tcp_pair_run(&self->tcp, cx, &self->a, &self->b));
        else CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
        CHECK_EQ(crt_stream_set_send_buffer(self->a, 1), 0);
        // (A TCP window of a few bytes is probed at long intervals only.)
        if (!OVER_TCP(self->k)) CHECK_EQ(crt_stream_set_recv_buffer(self->b, 1), 0);
        fault_count();
        self->n = self->k ? 1500000 : 400000;
        CHECK_EQ(crt_spawn_join(cx, &self->join[0], pump_run, &(pump){.s = self->a, .n = self->n, .writes = true}), 0);
        self->a = NULL;
        // All of it in one read_exact.
        self->data = malloc(self->n);
        CRT_AWAIT(self->r = crt_read_exact(cx, self->b, self->data, self->n));
        CHECK_EQ(self->r, self->n);
        for (self->i = 0; self->i < (int)self->n && self->data[self->i] == pattern((size_t)self->i); self->i++) {}
        CHECK_EQ(self->i, self->n);
        CHECK(fault_calls(FAULT_SEND) > (OVER_TCP(self->k) ? 5 : 20));   // TCP moves more at once
        CHECK(fault_calls(FAULT_RECV) > (OVER_TCP(self->k) ? 1 : 20));
        free(self->data);
        self->data = NULL;
        JOINED(self->join[0], 0);
        crt_close(&self->b);
    }
    CRT_FINALLY
        free(self->data);
        close_all(self);
    CRT_END;
}
static void write_all_and_read_exact_go_on_over_many_wakes(crt_runtime *rt) { run_root(rt, tiny_run); }

// Several readers: each record of four bytes goes to exactly one of them, and all of
// them learn of the end.
enum { RECORDS = 3000, READERS = 4 };
static unsigned char record_seen[RECORDS];   // atomic
typedef struct picker {
    crt_frame co;
    crt_stream *s;
    crt_poll r;
    uint32_t record;
} picker;
static crt_poll picker_run(void *frame, crt_cx *cx)
{
    picker *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = crt_read(cx, self->s, &self->record, 4));
        if (self->r <= 0) break;
        CHECK_EQ(self->r, 4);
        if (self->record < RECORDS) __atomic_fetch_add(&record_seen[self->record], 1, __ATOMIC_RELAXED);
        else CHECK(!"a record that was not sent");
    }
    CRT_RETURN(self->r);
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
static crt_poll several_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    memset(record_seen, 0, sizeof record_seen);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    for (self->i = 0; self->i < READERS; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], picker_run, &(picker){.s = crt_stream_clone(self->a)}), 0);
    CRT_AWAIT(until_parked(&self->until, cx, READERS));
    for (self->k = 0; self->k < RECORDS; self->k++) {
        CRT_AWAIT(self->r = crt_write_all(cx, self->b, &self->k, 4));
        CHECK_EQ(self->r, 4);
        if (self->k % 50 == 0) CRT_YIELD();
    }
    crt_close(&self->b);
    for (self->i = 0; self->i < READERS; self->i++) JOINED(self->join[self->i], 0);
    for (self->k = 0; self->k < RECORDS; self->k++)
        if (record_seen[self->k] != 1) CHECK_EQ(record_seen[self->k], 1);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void several_readers_share_a_stream(crt_runtime *rt) { run_root(rt, several_run); }

// ---- what the operations promise ------------------------------------------------

static crt_poll half_close_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    for (self->k = 0; self->k < 2; self->k++) {
        if (self->k) CRT_AWAIT(tcp_pair_run(&self->tcp, cx, &self->a, &self->b));
        else CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
        CRT_AWAIT(self->r = crt_write_all(cx, self->a, "last words", 10));
        CRT_AWAIT(self->r = crt_shutdown(cx, self->a));
        CHECK_EQ(self->r, 0);
        CRT_AWAIT(self->r = crt_shutdown(cx, self->a));   // a second time is no error
        CHECK_EQ(self->r, 0);
        CRT_AWAIT(self->r = crt_write(cx, self->a, "x", 1));
        CHECK_EQ(self->r, -EPIPE);
        CRT_AWAIT(self->r = crt_read_exact(cx, self->b, self->buf, 10));   // nothing is lost
        CHECK_EQ(self->r, 10);
        for (self->i = 0; self->i < 5; self->i++) {
            CRT_AWAIT(self->r = crt_read(cx, self->b, self->buf, sizeof self->buf));
            CHECK_EQ(self->r, 0);
        }
        // The other direction still works, both ways of waiting.
        CRT_AWAIT(self->r = crt_write_all(cx, self->b, "and yet", 7));
        CHECK_EQ(self->r, 7);
        CRT_AWAIT(self->r = crt_read_exact(cx, self->a, self->buf, 7));
        CHECK_EQ(self->r, 7);
        CHECK_EQ(crt_spawn_join(cx, &self->join[0], once_run,
            &(once){.op = READ, .s = self->a, .buf = self->buf, .n = 8}), 0);
        CRT_AWAIT(until_parked(&self->until, cx, 1));   // a was shut for writing; reading it waits
        CRT_AWAIT(self->r = crt_shutdown(cx, self->b));
        JOINED(self->join[0], 0);
        crt_close(&self->a);
        crt_close(&self->b);
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void half_close(crt_runtime *rt) { run_root(rt, half_close_run); }

static crt_poll eof_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], once_run,
        &(once){.op = READ_EXACT, .s = self->a, .buf = self->buf, .n = 10}), 0);
    CRT_AWAIT(until_parked(&self->until, cx, 1));
    CHECK_EQ(crt_try_write(self->b, "four", 4), 4);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    crt_close(&self->b);
    JOINED(self->join[0], CRT_EEOF);
#ifndef _WIN32   // a pair is TCP: the first write finds out
    CRT_AWAIT(self->r = crt_write_all(cx, self->a, "x", 1));
    CHECK_EQ(self->r, -EPIPE);
#endif
    // Nothing to do takes no waiting, even at the end.
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 0));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_read_exact(cx, self->a, self->buf, 0));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_write_all(cx, self->a, self->buf, 0));
    CHECK_EQ(self->r, 0);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void read_exact_at_an_early_end(crt_runtime *rt) { run_root(rt, eof_run); }

static crt_poll misuse_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    for (self->i = READ; self->i <= ACCEPT; self->i++) {
        CHECK_EQ(crt_spawn_join(cx, &self->join[0], once_run,
            &(once){.op = (op)self->i, .buf = self->buf, .n = 8}), 0);
        JOINED(self->join[0], CRT_EINVAL);   // no stream, no listener
    }
    CRT_AWAIT(self->r = crt_shutdown(cx, NULL));
    CHECK_EQ(self->r, CRT_EINVAL);
    CHECK_EQ(crt_try_read(NULL, self->buf, 1), CRT_EINVAL);
    CHECK_EQ(crt_try_write(NULL, self->buf, 1), CRT_EINVAL);
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, MOST + 1));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_write_all(cx, self->a, self->buf, SIZE_MAX));
    CHECK_EQ(self->r, CRT_EINVAL);
    CHECK_EQ(crt_try_read(self->a, self->buf, 1), CRT_EAGAIN);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void misuse_is_reported(crt_runtime *rt) { run_root(rt, misuse_run); }

static crt_poll readable_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    CHECK_EQ(crt_try_read(self->a, self->buf, 8), CRT_EAGAIN);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(2), crt_readable(cx, self->a)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    for (self->i = 0; self->i < 5; self->i++) {
        CHECK_EQ(crt_spawn_join(cx, &self->join[0], once_run, &(once){.op = READABLE, .s = self->a}), 0);
        CRT_AWAIT(until_parked(&self->until, cx, 1));
        CHECK_EQ(crt_try_write(self->b, "ping", 4), 4);
        JOINED(self->join[0], 0);
        CRT_AWAIT(self->r = crt_readable(cx, self->a));   // still so: nothing was read
        CHECK_EQ(self->r, 0);
        CHECK_EQ(crt_try_read(self->a, self->buf, 2), 2);
        CRT_AWAIT(self->r = crt_readable(cx, self->a));   // half of it is left
        CHECK_EQ(self->r, 0);
        CHECK_EQ(crt_try_read(self->a, self->buf, 8), 2);
        CHECK_EQ(crt_try_read(self->a, self->buf, 8), CRT_EAGAIN);
    }
    // Writing: full, then drained.
    self->n = 1 << 16;
    self->data = calloc(1, self->n);
    CRT_AWAIT(self->r = crt_writable(cx, self->a));
    CHECK_EQ(self->r, 0);
    while (crt_try_write(self->a, self->data, self->n) > 0) {}
    CHECK_EQ(crt_try_write(self->a, self->data, 1), CRT_EAGAIN);
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], once_run, &(once){.op = WRITABLE, .s = self->a}), 0);
    CRT_AWAIT(until_parked(&self->until, cx, 1));
    while (crt_try_read(self->b, self->data, self->n) > 0) {}
    JOINED(self->join[0], 0);
    CHECK_EQ(crt_try_write(self->a, self->data, 1), 1);
    crt_close(&self->b);   // the end is readable
    CRT_AWAIT(self->r = crt_readable(cx, self->a));
    CHECK_EQ(self->r, 0);
    CRT_FINALLY
        free(self->data);
        close_all(self);
    CRT_END;
}
static void readable_then_try_read(crt_runtime *rt) { run_root(rt, readable_run); }

// A short read says that there is no more; the call that would only say EAGAIN is saved.
static crt_poll saved_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    enum { ROUNDS = 100 };
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    fault_count();
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], once_run,
        &(once){.op = READ, .s = self->a, .buf = self->buf, .n = 8}), 0);
    CRT_AWAIT(until_parked(&self->until, cx, 1));
    CHECK_EQ(fault_calls(FAULT_RECV), 0);   // nothing was ready: nothing was tried
    CHECK_EQ(crt_try_write(self->b, "go", 2), 2);
    JOINED(self->join[0], 2);
    CHECK_EQ(fault_calls(FAULT_RECV), 1);
    fault_count();
    for (self->i = 0; self->i < ROUNDS; self->i++) {
        CRT_AWAIT(self->r = crt_write_all(cx, self->b, "0123456789", 10));
        CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 64));
        CHECK_EQ(self->r, 10);
        CRT_AWAIT(self->r = crt_write_all(cx, self->a, "0123456789", 10));
        CRT_AWAIT(self->r = crt_read(cx, self->b, self->buf, 64));
        CHECK_EQ(self->r, 10);
    }
    CHECK_EQ(fault_calls(FAULT_SEND), 2 * ROUNDS);
    CHECK_EQ(fault_calls(FAULT_RECV), 2 * ROUNDS);
    // A full read says nothing of the kind: one more call is right.
    CHECK_EQ(crt_try_write(self->b, "0123456789", 10), 10);
    fault_count();
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 10));
    CHECK_EQ(self->r, 10);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(2), crt_read(cx, self->a, self->buf, 10)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(fault_calls(FAULT_RECV), 2);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void a_short_read_saves_a_system_call(crt_runtime *rt) { run_root(rt, saved_run); }

// A reader whose stream never runs dry lets others run.
static crt_poll fair_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    self->data = calloc(1, 2000);
    CHECK_EQ(crt_try_write(self->b, self->data, 2000), 2000);
    crt_close(&self->b);
    read_so_far = 0;
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], reader_run, &(reader){.s = self->a, .counted = &read_so_far}), 0);
    while (read_so_far < 2000) {
        self->i = read_so_far;
        CRT_YIELD();
        // The budget, and the operation that had found it used up.
        CHECK(read_so_far - self->i <= 129);
        self->k++;
    }
    CHECK(self->k >= 15);
    JOINED(self->join[0], 0);
    CRT_FINALLY
        free(self->data);
        close_all(self);
    CRT_END;
}
static void a_reader_of_plenty_yields(crt_runtime *rt) { run_root(rt, fair_run); }

// ---- any descriptor --------------------------------------------------------------

#ifdef __linux__
static void *late_writer(void *arg)
{
    uint64_t one = 1;
    test_pause_us(3000);
    CHECK_EQ(write(*(int *)arg, &one, sizeof one), sizeof one);
    return NULL;
}
static pthread_t thread;
static int event;
#endif
static crt_poll fd_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    self->data = calloc(1, 65536);
    // A pipe. Both of two tasks that wait for it are woken, each time.
    CHECK_EQ(test_pipe(self->pipe), 0);
    for (self->k = 0; self->k < 3; self->k++) {
        for (self->i = 0; self->i < 2; self->i++)
            CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], once_run,
                &(once){.op = FD_READABLE, .fd = self->pipe[0]}), 0);
        CRT_AWAIT(until_parked(&self->until, cx, 2));
        CHECK_EQ(write(self->pipe[1], "x", 1), 1);
        for (self->i = 0; self->i < 2; self->i++) JOINED(self->join[self->i], 0);
        CRT_AWAIT(self->r = crt_fd_readable(cx, self->pipe[0]));   // at once
        CHECK_EQ(self->r, 0);
        CHECK_EQ(read(self->pipe[0], self->buf, 1), 1);
    }
    // It was lent, not taken: still blocking, still ours.
#ifdef F_GETFL
    CHECK_EQ(fcntl(self->pipe[0], F_GETFL) & O_NONBLOCK, 0);
#endif
    CRT_AWAIT(self->r = crt_fd_writable(cx, self->pipe[1]));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(fcntl(self->pipe[1], F_SETFL, O_NONBLOCK), 0);
    fill_pipe(self->pipe[1], self->data, 65536);
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], once_run, &(once){.op = FD_WRITABLE, .fd = self->pipe[1]}), 0);
    CRT_AWAIT(until_parked(&self->until, cx, 1));
    while (read(self->pipe[0], self->data, 65536) > 0) {
        if (poll(&(struct pollfd){self->pipe[0], POLLIN, 0}, 1, 0) != 1) break;
    }
    JOINED(self->join[0], 0);
    // The writer goes: the reader is told.
    while (poll(&(struct pollfd){self->pipe[0], POLLIN, 0}, 1, 0) == 1)
        if (read(self->pipe[0], self->data, 65536) <= 0) break;
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], once_run, &(once){.op = FD_READABLE, .fd = self->pipe[0]}), 0);
    CRT_AWAIT(until_parked(&self->until, cx, 1));
    close(self->pipe[1]);
    JOINED(self->join[0], 0);
    close(self->pipe[0]);

#ifdef __linux__
    // An eventfd, from a plain thread.
    event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_create(&thread, NULL, late_writer, &event);
    CRT_AWAIT(self->r = crt_fd_readable(cx, event));
    CHECK_EQ(self->r, 0);
    pthread_join(thread, NULL);
    CHECK_EQ(read(event, self->buf, 8), 8);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(2), crt_fd_readable(cx, event)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    // One task waits to read it, another finds that it can be written.
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], once_run, &(once){.op = FD_READABLE, .fd = event}), 0);
    CRT_AWAIT(until_parked(&self->until, cx, 1));
    CRT_AWAIT(self->r = crt_fd_writable(cx, event));
    CHECK_EQ(self->r, 0);
    CHECK(!crt_is_finished(self->join[0]));
    CHECK_EQ(write(event, (uint64_t[]){1}, 8), 8);
    JOINED(self->join[0], 0);
    close(event);

    // A timerfd.
    event = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    CHECK_EQ(timerfd_settime(event, 0, &(struct itimerspec){{0, 0}, {0, 3000000}}, NULL), 0);
    CRT_AWAIT(self->r = crt_fd_readable(cx, event));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(read(event, self->buf, 8), 8);
    close(event);
#endif
    CRT_FINALLY
        free(self->data);
        close_all(self);
    CRT_END;
}
static void pipes_eventfds_and_timerfds(crt_runtime *rt) { run_root(rt, fd_run); }

static crt_poll fd_wrong_run(void *frame, crt_cx *cx)
{
    static int file;
    root *self = frame;
    CRT_BEGIN(self, cx);
#ifdef _WIN32   // only sockets are descriptors there
    file = 4;
    CRT_AWAIT(self->r = crt_fd_readable(cx, file));
    CHECK_EQ(self->r, -ENOTSOCK);
#else
    file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    CHECK(file >= 0);
    CRT_AWAIT(self->r = crt_fd_readable(cx, file));
    CHECK_EQ(self->r, -EPERM);
    CRT_AWAIT(self->r = crt_fd_writable(cx, file));
    CHECK_EQ(self->r, -EPERM);
    close(file);
    CRT_AWAIT(self->r = crt_fd_readable(cx, file));
    CHECK_EQ(self->r, -EBADF);
#endif
    CRT_AWAIT(self->r = crt_fd_readable(cx, -1));
    CHECK_EQ(self->r, -EBADF);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void descriptors_that_cannot_be_waited_for(crt_runtime *rt) { run_root(rt, fd_wrong_run); }

// ---- between threads and runtimes --------------------------------------------------

// A stream of one runtime, read by a task of another.
static crt_poll foreign_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 20; self->i++) {
        CRT_AWAIT(self->r = crt_read_exact(cx, self->a, self->buf, 4));
        CHECK_EQ(self->r, 4);
        CRT_AWAIT(self->r = crt_write_all(cx, self->a, self->buf, 4));
        CHECK_EQ(self->r, 4);
    }
    CRT_END;
}
typedef struct foreign {
    crt_frame co;
    crt_runtime *other;
    crt_handle *h;
    crt_stream *a, *b;
    crt_join_handle *join;
    intptr_t result;
    crt_poll r;
    int i;
    char buf[4];
} foreign;
static crt_poll foreign_root_run(void *frame, crt_cx *cx)
{
    foreign *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    self->h = crt_runtime_handle(self->other);
    {
        root *r = calloc(1, sizeof *r);
        r->a = self->a;
        CHECK_EQ(crt_handle_spawn_join(self->h, &self->join, foreign_run, r), 0);
        free(r);
    }
    for (self->i = 0; self->i < 20; self->i++) {
        CRT_AWAIT(self->r = crt_write_all(cx, self->b, "ping", 4));
        CRT_AWAIT(self->r = crt_read_exact(cx, self->b, self->buf, 4));
        CHECK_EQ(self->r, 4);
    }
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK_EQ(self->r, 0);
    CRT_FINALLY
        crt_close(&self->a);
        crt_close(&self->b);
        crt_handle_drop(&self->h);
    CRT_END;
}
static void a_task_may_use_a_stream_of_another_runtime(crt_runtime *rt)
{
    foreign f = {0};
    crt_config c = {.worker_threads = 1};
    int fds = fd_count();
    CHECK_EQ(crt_runtime_new(&c, &f.other), 0);
    CHECK_EQ(crt_block_on(rt, foreign_root_run, &f), 0);
    crt_runtime_drop(&f.other);
    CHECK_EQ(fd_count(), fds);
}

// Records change hands as fast as they can while events are on their way: everybody
// gets its own bytes or a clean end.
#ifdef _WIN32
enum { CHURNS = 40 };   // a pair is a listener and two sockets there, each met by name
#else
enum { CHURNS = 300 };
#endif
typedef struct churn {
    crt_frame co;
    crt_stream *a, *b;
    crt_join_handle *join;
    intptr_t result;
    crt_poll r;
    uint32_t id, got;
    int i, rounds;
} churn;
static crt_poll churn_run(void *frame, crt_cx *cx)
{
    churn *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->rounds; self->i++) {
        CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
        CHECK_EQ(crt_spawn_join(cx, &self->join, once_run,
            &(once){.op = READ, .s = crt_stream_clone(self->a), .owns = true, .buf = &self->got, .n = 4}), 0);
        if (self->i % 3 == 0) CRT_YIELD();
        if (self->i % 4 == 3) {
            crt_abort(self->join);
        } else {
            CHECK_EQ(crt_try_write(self->b, &self->id, 4), 4);
            if (self->i % 4 == 2) crt_close(&self->b);
        }
        CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
        if (self->i % 4 == 3) CHECK_EQ(self->r, CRT_ECANCELED);
        else CHECK_EQ(self->got, self->id);
        self->got = 0;
        crt_close(&self->a);
        crt_close(&self->b);
    }
    CRT_FINALLY
        crt_close(&self->a);
        crt_close(&self->b);
    CRT_END;
}
static crt_poll churn_root_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 8; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], churn_run,
            &(churn){.id = 0xabc0u + (uint32_t)self->i, .rounds = CHURNS}), 0);
    for (self->i = 0; self->i < 8; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], &self->result));
        CHECK_EQ(self->r, 0);
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void records_change_hands_under_load(crt_runtime *rt) { run_root(rt, churn_root_run); }

int main(int argc, char **argv)
{
    test_init(argc, argv);
    static const crt_config one = {.flavor = CRT_CURRENT_THREAD};
#define TEST_ON_ONE(fn)                                     \
    do {                                                    \
        crt_runtime *rt;                                    \
        if (test__begin(#fn, NULL)) {                       \
            int e = crt_runtime_new(&one, &rt);             \
            CHECK_EQ(e, 0);                                 \
            fn(rt);                                         \
            crt_runtime_drop(&rt);                          \
            test__done();                                   \
        }                                                   \
    } while (0)
    TEST_ON_ONE(a_clear_never_erases_a_newer_edge);
    TEST_ON_ONE(the_tick_wraps_without_touching_the_generation);
    TEST_ON_ONE(a_stale_event_does_not_reach_a_reused_record);
    TEST_ON_ONE(records_are_reused_and_start_clean);
    TEST_ON_ONE(closed_bits_stay_until_they_prove_untrue);
    TEST_ON_ONE(parking_looks_again_under_the_lock);
    TEST_ON_ONE(a_short_read_saves_a_system_call);
    TEST_ON_ONE(a_reader_of_plenty_yields);
    TEST_ON_ONE(closing_between_wake_and_poll_gives_closed);
    TEST_ON_ONE(closing_while_out_of_budget_gives_closed);
    TEST_ON_EACH(closing_wakes_the_parked_with_closed);
    TEST_ON_EACH(closing_a_listener_wakes_its_acceptors);
    TEST_ON_EACH(closing_a_listener_that_waits_for_descriptors);
    TEST_ON_EACH(closing_a_shared_pointer_gives_closed);
    TEST_ON_EACH(the_descriptor_closes_with_the_last_clone);
    TEST_ON_EACH(a_plain_thread_may_close);
    TEST_ON_EACH(cancelling_leaves_no_waiter_and_no_descriptor);
    TEST_ON_EACH(cancelling_a_connect_closes_its_descriptor);
    TEST_ON_EACH(losing_reads_are_unlinked_and_take_no_bytes);
    TEST_ON_EACH(a_reader_and_a_writer_at_once);
    TEST_ON_EACH(write_all_and_read_exact_go_on_over_many_wakes);
    TEST_ON_EACH(several_readers_share_a_stream);
    TEST_ON_EACH(half_close);
    TEST_ON_EACH(read_exact_at_an_early_end);
    TEST_ON_EACH(misuse_is_reported);
    TEST_ON_EACH(readable_then_try_read);
    TEST_ON_EACH(pipes_eventfds_and_timerfds);
    TEST_ON_EACH(descriptors_that_cannot_be_waited_for);
    TEST_ON_EACH(a_task_may_use_a_stream_of_another_runtime);
    TEST_ON_EACH(records_change_hands_under_load);
    return test_end();
}
