// Scenes of several tasks around one object. The ideas are those of tests of Go's standard library; what had a
// counterpart in the files named after the sections of crt.h is not here.
//
// Held against them (theirs -> ours).
// net: net_test.go, timeout_test.go, sendfile_test.go, splice_test.go:
//   TestConnClose, TestPacketConnClose, TestListenerClose, TestCloseUnblocksRead -> close_under_each_wait
//   TestWriteTimeout, TestWriteTimeoutFluctuation -> writes_cut_short_count_right
//   TestReadWriteDeadlineRace, TestConcurrentSetDeadline -> limits_race_the_end
//   TestSplice, TestSendfile, TestCopyPipeIntoTCP -> copies_between_kinds
// net: udpsock_test.go, dial_test.go, listen_test.go, tcpsock_test.go:
//   TestUDPZeroBytePayload, TestUDPZeroByteBuffer -> zero_buffers_and_payloads
//   TestDialerLocalAddr -> dial_from
//   TestDualStackTCPListener, TestDualStackUDPListener -> listener_pairs
//   TestIPv6LinkLocalUnicastTCP, TestIPv6LinkLocalUnicastUDP -> zones
// os/exec: exec_test.go, env_test.go, lp_unix_test.go:
//   TestDedupEnv, TestDedupEnvEcho, TestLookPathUnixEmptyPath -> env_cases
//   TestWaitInterrupt (WaitDelay) -> grandchild_holds_output
//   TestNoExistExecutable, TestFindExecutableVsNoexec -> start_failures
// time/sleep_test.go: TestConcurrentTimerReset, TestConcurrentTimerResetStop -> delay_queue_races
// context: TestCancelRemoves, TestSimultaneousCancels -> deep_tokens
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#include "by_hand.h"

#include <net/if.h>
#include <sys/socket.h>
#include <sys/stat.h>
#ifdef __linux__
#include <ifaddrs.h>
#include <netinet/in.h>
#endif

#define SHARED(x) __atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define SET(x, v) __atomic_store_n(&(x), (v), __ATOMIC_SEQ_CST)
#define ADD(x, v) __atomic_fetch_add(&(x), (v), __ATOMIC_SEQ_CST)
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
#define HAND crt_slot *held, *s = self->s; crt_poll got; (void)held; (void)got; (void)s

typedef struct pairing {
    crt_frame co;
    crt_listener *l;
    crt_addr at;
    char text[64];
    crt_poll r;
} pairing;
typedef struct scene {
    crt_frame co;
    crt_slot s[2];
    crt_stream *a, *b, *c, *d;
    crt_listener *l, *l2;
    crt_udp *u, *v;
    crt_process *p;
    crt_join_handle *join[8];
    pairing pair[2];
    crt_addr at, from;
    crt_poll r, r2, n;
    int i, k, m, tries, fd[2];
    intptr_t result;
    size_t total, done;
    crt_timer timer;
    CRT_SELECT(2) sel;
    crt_duration limit;
    crt_iovec v2[2];
    crt_udp_msg msg[8];
    crt_process_desc desc;
    crt_process_fd file;
    crt_exit_status status;
    crt_output o;
    char text[256];
    char buf[70000];
} scene;

static void scene_drop(scene *x)
{
    crt_close(&x->a);
    crt_close(&x->b);
    crt_close(&x->c);
    crt_close(&x->d);
    crt_close(&x->l);
    crt_close(&x->l2);
    crt_close(&x->u);
    crt_close(&x->v);
    crt_close(&x->p);
}
typedef struct rest {
    crt_frame co;
} rest;
static crt_poll rest_run(void *frame, crt_cx *cx)
{
    rest *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CRT_END;
}
typedef struct child {
    crt_frame co;
    crt_process *p;
    crt_poll r;
} child;
static crt_poll child_run(void *frame, crt_cx *cx)
{
    static const char *const argv[] = {"/bin/sh", "-c", ":", NULL};
    child *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_process_spawn(cx, &(crt_process_desc){.argv = argv}, &self->p));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, NULL));
    CHECK_EQ(self->r, 0);
    CRT_FINALLY
        crt_close(&self->p);
    CRT_END;
}
// A scene is too large for a stack. Afterwards, as many descriptors are open as before, if not at once: a child
// that was killed is waited for, by this thread too where it is the runtime's only one. (A first child before the
// count: where there are no pidfds, what hears SIGCHLD stays.)
static void plays(crt_runtime *rt, crt_fn fn)
{
    CHECK_EQ(crt_block_on(rt, child_run, &(child){.p = NULL}), 0);
    int open_before = test_fd_count();
    scene *x = calloc(1, sizeof *x);
    CHECK_EQ(crt_block_on(rt, fn, x), 0);
    for (unsigned i = 0; i < test_patience(5000) && test_fd_count() > open_before; i++)
        CHECK_EQ(crt_block_on(rt, rest_run, &(rest){.co = {0}}), 0);
    CHECK(test_fd_count() <= open_before);
    free(x);
}
// SCENE(name) { scene *self = frame; ... }: the body of a test on a runtime.
#define SCENE(name)                                                                        \
    static crt_poll name##_run(void *frame, crt_cx *cx);                                   \
    static void name(crt_runtime *rt) { plays(rt, name##_run); }                           \
    static crt_poll name##_run(void *frame, crt_cx *cx)

enum { OVER_TCP, OVER_UNIX, IN_MEMORY, THROUGH_A_PIPE, STREAM_KINDS };
static crt_poll tcp_pair_run(pairing *self, crt_cx *cx, crt_stream **a, crt_stream **b)
{
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_local_addr(self->l, &self->at), 0);
    crt_addr_format(&self->at, self->text, sizeof self->text);
    CRT_AWAIT(self->r = crt_tcp_connect(cx, self->text, a));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_accept(cx, self->l, b, NULL));
    CRT_RETURN(self->r);
    CRT_FINALLY
        crt_close(&self->l);
    CRT_END;
}
// Two ends of a stream: of a pipe, a writes and b reads.
static crt_poll pair_run(pairing *self, crt_cx *cx, int kind, crt_stream **a, crt_stream **b)
{
    if (kind == OVER_UNIX) return crt_stream_pair(cx, a, b);
    if (kind == IN_MEMORY) return crt_duplex(cx, 3000, a, b);
    if (kind == THROUGH_A_PIPE) return crt_pipe(cx, b, a);
    return tcp_pair_run(self, cx, a, b);
}
static void fill(crt_stream *to, const char *bytes, size_t n)
{
    while (crt_try_write(to, bytes, n) > 0) {}
}
// "HOST:PORT", with the port that somebody else has.
static const char *at_port(scene *self, const char *host)
{
    snprintf(self->text, sizeof self->text, "%s:%d", host, crt_addr_port(&self->at));
    return self->text;
}
static bool ipv6_is_here(void)
{
    crt_addr at;
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool yes = fd >= 0 && !crt_addr_parse("[::1]:0", &at) && !bind(fd, (struct sockaddr *)(void *)at.u.bytes, at.len);
    if (fd >= 0) close(fd);
    return yes;
}
static bool broken(intptr_t r) { return r == -EPIPE || r == CRT_ECONNRESET; }

// ---------------------------------------------------------------------------
// the last handle is closed while a task waits on it, in each kind of wait

enum {
    READ, READ_EXACT, READV, PEEK, READABLE, FILL, READ_LINE, READ_FRAME, READ_TO_END, COPY_FROM,
    WRITE, WRITE_ALL, WRITEV, WRITEV_ALL, WRITABLE, FLUSH, COPY_TO, OF_STREAMS,
    RECV_FROM = OF_STREAMS, RECV, PEEK_FROM, UDP_READABLE, RECV_MANY, OF_DATAGRAMS,
    ACCEPT = OF_DATAGRAMS, EXIT, WAITS
};
static int waiting;   // atomic: polls that have come back with "not yet"
typedef struct waiter {
    crt_frame co;
    int kind;
    crt_poll r;
    crt_stream *a, *d, *taken;
    crt_udp *u;
    crt_listener *l;
    crt_process *p;
    crt_reader reader;
    crt_writer writer;
    crt_copier copier;
    crt_bytes bytes;
    void *frame;
    char *line;
    crt_udp_msg msg[4];
    crt_iovec v[2];
    char buf[4096];
} waiter;
static crt_poll stream_wait(waiter *self, crt_cx *cx)
{
    switch (self->kind) {
    case READ: return crt_read(cx, self->a, self->buf, 10);
    case READ_EXACT: return crt_read_exact(cx, self->a, self->buf, 10);
    case READV: return crt_readv(cx, self->a, self->v, 2);
    case PEEK: return crt_peek(cx, self->a, self->buf, 10);
    case READABLE: return crt_readable(cx, self->a);
    case FILL: return crt_reader_fill(cx, &self->reader, 1);
    case READ_LINE: return crt_reader_read_line(cx, &self->reader, 0, &self->line);
    case READ_FRAME: return crt_framed_read(cx, &self->reader, NULL, &self->frame);
    case READ_TO_END: return crt_read_to_end(cx, self->a, &self->bytes, 1000000);
    case COPY_FROM: return crt_copy(cx, &self->copier, self->a, self->d);
    case WRITE: return crt_write(cx, self->a, self->buf, sizeof self->buf);
    case WRITE_ALL: return crt_write_all(cx, self->a, self->buf, sizeof self->buf);
    case WRITEV: return crt_writev(cx, self->a, self->v, 2);
    case WRITEV_ALL: return crt_writev_all(cx, self->a, self->v, 2);
    case WRITABLE: return crt_writable(cx, self->a);
    case FLUSH: return crt_writer_flush(cx, &self->writer);
    default: return crt_copy(cx, &self->copier, self->d, self->a);
    }
}
static crt_poll other_wait(waiter *self, crt_cx *cx)
{
    switch (self->kind) {
    case RECV_FROM: return crt_udp_recv_from(cx, self->u, self->buf, 100, NULL);
    case RECV: return crt_udp_recv(cx, self->u, self->buf, 100);
    case PEEK_FROM: return crt_udp_peek_from(cx, self->u, self->buf, 100, NULL);
    case UDP_READABLE: return crt_udp_readable(cx, self->u);
    case RECV_MANY: return crt_udp_recv_many(cx, self->u, self->msg, COUNT(self->msg));
    case ACCEPT: return crt_accept(cx, self->l, &self->taken, NULL);
    default: return crt_process_wait(cx, self->p, NULL);
    }
}
static crt_poll awaits(waiter *self, crt_cx *cx)
{
    crt_poll r = self->kind < OF_STREAMS ? stream_wait(self, cx) : other_wait(self, cx);
    if (r == CRT_PENDING) ADD(waiting, 1);   // out of the call: now it may be closed
    return r;
}
static crt_poll waiter_run(void *frame, crt_cx *cx)
{
    waiter *self = frame;
    CRT_BEGIN(self, cx);
    crt_reader_init(&self->reader, self->a, NULL, 0);
    crt_writer_init(&self->writer, self->a, NULL, 0);
    self->v[0] = (crt_iovec){self->buf, 5};
    self->v[1] = (crt_iovec){self->buf + 5, sizeof self->buf - 5};
    for (int i = 0; i < COUNT(self->msg); i++) self->msg[i] = (crt_udp_msg){.buf = self->buf, .size = 10};
    if (self->kind == FLUSH) {
        CRT_AWAIT(self->r = crt_writer_write_all(cx, &self->writer, "xyz", 3));
        CHECK_EQ(self->r, 3);
    }
    CRT_AWAIT(self->r = awaits(self, cx));
    CRT_RETURN(self->r);
    CRT_FINALLY
        crt_reader_drop(&self->reader);
        crt_writer_drop(&self->writer);
        crt_bytes_drop(&self->bytes);
        crt_close(&self->taken);
    CRT_END;
}
// What the wait k is for, with nothing to be had: for a writer it is full.
static crt_poll nothing_to_be_had_run(scene *self, crt_cx *cx)
{
    static const char *const argv[] = {"sleep", "100", NULL};
    if (self->k >= OF_STREAMS && self->k < OF_DATAGRAMS) return crt_udp_bind(cx, "127.0.0.1:0", &self->u);
    if (self->k == ACCEPT) return crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l);
    if (self->k == EXIT) {
        self->desc = (crt_process_desc){.argv = argv, .kill_on_drop = true};
        return crt_process_spawn(cx, &self->desc, &self->p);
    }
    return pair_run(&self->pair[0], cx, self->i, &self->a, &self->b);
}
static void now_wait(scene *self, crt_cx *cx)
{
    if (self->k < OF_STREAMS) CHECK_EQ(crt_duplex(cx, 100, &self->c, &self->d), 0);
    if (self->k >= WRITE && self->k < OF_STREAMS) fill(self->a, self->buf, sizeof self->buf);
    if (self->k == COPY_TO) fill(self->c, self->buf, sizeof self->buf);
    SET(waiting, 0);
    waiter w = {.kind = self->k, .a = self->a, .d = self->d, .u = self->u, .l = self->l, .p = self->p};
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], waiter_run, &w), 0);
}
SCENE(close_under_each_wait)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    for (self->k = 0; self->k < WAITS; self->k++)
        for (self->i = 0; self->i < (self->k < OF_STREAMS ? THROUGH_A_PIPE : 1); self->i++) {
            if (self->k == PEEK && self->i == IN_MEMORY) continue;
            // TCP finds room for more in its own time: then a writer would be inside a call when it is closed.
            if (self->k >= WRITE && self->k < OF_STREAMS && self->i == OVER_TCP) continue;
            CRT_AWAIT(self->r = nothing_to_be_had_run(self, cx));
            CHECK_EQ(self->r, 0);
            now_wait(self, cx);
            while (!SHARED(waiting)) CRT_YIELD();
            CHECK(!crt_is_finished(self->join[0]));
            crt_close(&self->a);
            crt_close(&self->u);
            crt_close(&self->l);
            crt_close(&self->p);
            CRT_AWAIT(self->r = crt_join(cx, &self->join[0], &self->result));
            CHECK_EQ(self->r, 0);
            CHECK_EQ(self->result, CRT_ECLOSED);
            if (self->result != CRT_ECLOSED) fprintf(stderr, "  wait %d, stream %d\n", self->k, self->i);
            scene_drop(self);
        }
    CRT_FINALLY
        scene_drop(self);
    CRT_END;
}

// ---------------------------------------------------------------------------
// bytes that are counted

// Byte n of what is sent: no two neighbouring pieces look the same.
static unsigned char byte_at(size_t n) { return (unsigned char)(n * 31 >> 3); }
static void write_pattern(char *buf, size_t n, size_t from)
{
    for (size_t i = 0; i < n; i++) buf[i] = (char)byte_at(from + i);
}
// Reads to the end, and how many bytes that were; a slow one rests now and then, so that the other side is full.
typedef struct counter {
    crt_frame co;
    crt_stream *from;
    crt_poll r;
    size_t n;
    int slow, k, bad;
    unsigned char buf[30000];
} counter;
static crt_poll counter_run(void *frame, crt_cx *cx)
{
    counter *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = crt_read(cx, self->from, self->buf, sizeof self->buf));
        if (self->r <= 0) break;
        for (size_t i = 0; i < (size_t)self->r; i++) self->bad += self->buf[i] != byte_at(self->n + i);
        self->n += (size_t)self->r;
        if (self->slow && ++self->k % 8 == 0) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    }
    CHECK_EQ(self->bad, 0);
    CRT_RETURN(self->r < 0 ? self->r : (crt_poll)self->n);
    CRT_FINALLY
        crt_close(&self->from);
    CRT_END;
}
static void begin_counter(crt_cx *cx, crt_stream **from, int slow, crt_join_handle **join)
{
    counter *c = calloc(1, sizeof *c);
    c->from = *from;
    c->slow = slow;
    CHECK_EQ(crt_spawn_join(cx, join, counter_run, c), 0);
    *from = NULL;
    free(c);
}

// A write that is given up has sent nothing; what the others say they sent is what arrives, and no more.
static crt_poll write_once(scene *self, crt_cx *cx)
{
    return self->done % 2 ? crt_write(cx, self->a, self->buf, sizeof self->buf) : crt_writev(cx, self->a, self->v2, 2);
}
SCENE(writes_cut_short_count_right)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    for (self->k = 0; self->k < STREAM_KINDS; self->k++) {
        CRT_AWAIT(self->r = pair_run(&self->pair[0], cx, self->k, &self->a, &self->b));
        CHECK_EQ(self->r, 0);
        begin_counter(cx, &self->b, true, &self->join[0]);
        for (self->total = self->done = 0; self->total < (getenv("TEST_SLOW") ? 200000 : 1000000); ) {
            write_pattern(self->buf, sizeof self->buf, self->total);
            self->v2[0] = (crt_iovec){self->buf, 11};
            self->v2[1] = (crt_iovec){self->buf + 11, sizeof self->buf - 11};
            self->done++;
            CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_US(250) * (crt_duration)(self->done % 5),
                                            self->n = write_once(self, cx)));
            if (self->r > 0) self->total += (size_t)self->r;
            else CHECK(self->r == CRT_ETIMEDOUT && self->n == CRT_UNWIND);
            memset(self->buf, 0xee, sizeof self->buf);   // nobody looks at it any more
        }
        crt_close(&self->a);
        CRT_AWAIT(self->r = crt_join(cx, &self->join[0], &self->result));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(self->result, self->total);
    }
    CRT_FINALLY
        scene_drop(self);
    CRT_END;
}

typedef struct carrier {
    crt_frame co;
    crt_stream *from, *to;
    crt_copier copier;
    crt_poll r;
} carrier;
static crt_poll carrier_run(void *frame, crt_cx *cx)
{
    carrier *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_copy(cx, &self->copier, self->from, self->to));
    if (self->r >= 0) CHECK_EQ(self->r, self->copier.count);
    CRT_RETURN(self->r);
    CRT_FINALLY
        crt_close(&self->from);
        crt_close(&self->to);
    CRT_END;
}
// a -> b, carried on to c -> d, whose reader counts them (slowly, the second time).
enum { CARRIED = 200000 };
static crt_poll carries_run(scene *self, crt_cx *cx)
{
    CRT_BEGIN(&self->pair[0], cx);   // whose pair has been made
    begin_counter(cx, &self->d, self->m, &self->join[1]);
    for (self->total = 0; self->total < CARRIED; self->total += 10000) {
        write_pattern(self->buf, 10000, self->total);
        CRT_AWAIT(self->r = crt_write_all(cx, self->a, self->buf, 10000));
        CHECK_EQ(self->r, 10000);
    }
    crt_close(&self->a);
    for (self->n = 0; self->n < 2; self->n++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->n], &self->result));
        CHECK(self->r == 0 && self->result == CARRIED);
    }
    CRT_END;
}
// The reader goes with bytes unread: the copy ends with an error, and so does who writes to it.
static crt_poll carries_in_vain_run(scene *self, crt_cx *cx)
{
    CRT_BEGIN(&self->pair[0], cx);
    CRT_AWAIT(self->r = crt_write_all(cx, self->a, self->buf, 1000));
    CHECK_EQ(self->r, 1000);
    CRT_AWAIT(self->r = crt_readable(cx, self->d));
    crt_close(&self->d);
    do CRT_AWAIT(self->r = crt_write(cx, self->a, self->buf, 1000));
    while (self->r > 0);
    CHECK(broken(self->r));
    CRT_AWAIT(self->r = crt_join(cx, &self->join[0], &self->result));
    CHECK(self->r == 0 && broken(self->result));
    CRT_END;
}
SCENE(copies_between_kinds)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < STREAM_KINDS * STREAM_KINDS; self->i++)
        for (self->m = 0; self->m < 3; self->m++) {
            memset(self->pair, 0, sizeof self->pair);
            CRT_AWAIT(self->r = pair_run(&self->pair[0], cx, self->i / STREAM_KINDS, &self->a, &self->b));
            CRT_AWAIT(self->r2 = pair_run(&self->pair[1], cx, self->i % STREAM_KINDS, &self->c, &self->d));
            CHECK(self->r == 0 && self->r2 == 0);
            carrier c = {.from = self->b, .to = self->c};
            CHECK_EQ(crt_spawn_join(cx, &self->join[0], carrier_run, &c), 0);
            self->b = self->c = NULL;
            memset(self->pair, 0, sizeof self->pair);
            CRT_AWAIT(self->m < 2 ? carries_run(self, cx) : carries_in_vain_run(self, cx));
            scene_drop(self);
        }
    CRT_FINALLY
        scene_drop(self);
    CRT_END;
}

// Reads and writes with short limits while both directions end under them: each task hears of it.
typedef struct racer {
    crt_frame co;
    crt_stream *s;
    crt_poll r;
    crt_timer timer;
    bool writes;
    int k;
    char buf[2000];
} racer;
static crt_poll races(racer *self, crt_cx *cx)
{
    return self->writes ? crt_write(cx, self->s, self->buf, sizeof self->buf)
                        : crt_read(cx, self->s, self->buf, sizeof self->buf);
}
static crt_poll racer_run(void *frame, crt_cx *cx)
{
    racer *self = frame;
    CRT_BEGIN(self, cx);
    do {
        self->k++;
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_US(200) * (self->k % 4), races(self, cx)));
        if (self->r > 0 && self->k % 50 == 0) CRT_AWAIT(crt_sleep(cx, CRT_US(100)));
    } while (self->r > 0 || self->r == CRT_ETIMEDOUT);
    CRT_RETURN(self->r);
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
SCENE(limits_race_the_end)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 4; self->i++) {
        CRT_AWAIT(self->r = pair_run(&self->pair[0], cx, OVER_TCP, &self->a, &self->b));
        CHECK_EQ(self->r, 0);
        for (int k = 0; k < 4; k++) {
            racer one = {.s = crt_stream_clone(k & 1 ? self->a : self->b), .writes = k & 2};
            CHECK_EQ(crt_spawn_join(cx, &self->join[k], racer_run, &one), 0);
        }
        CRT_AWAIT(crt_sleep(cx, CRT_MS(2)));
        CHECK_EQ(shutdown((int)crt_stream_fd(self->a), SHUT_RDWR), 0);
        shutdown((int)crt_stream_fd(self->b), SHUT_RDWR);   // that may have ended it already
        crt_close(&self->a);
        crt_close(&self->b);
        for (self->k = 0; self->k < 4; self->k++) {
            CRT_AWAIT(self->r = crt_join(cx, &self->join[self->k], &self->result));
            CHECK(self->r == 0 && (self->result == 0 || broken(self->result)));
        }
    }
    CRT_FINALLY
        scene_drop(self);
    CRT_END;
}

// ---------------------------------------------------------------------------
// datagrams

static crt_poll datagram_pair_run(pairing *self, crt_cx *cx, scene *x, const char *at)
{
    if (!at) return crt_unix_dgram_pair(cx, &x->u, &x->v);
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_udp_bind(cx, at, &x->u));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_udp_bind(cx, at, &x->v));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_local_addr(x->u, &x->at), 0);
    CRT_AWAIT(self->r = crt_udp_connect(cx, x->v, &x->at));
    CRT_RETURN(self->r);
    CRT_END;
}
// A buffer without room takes a datagram as any other does, and a datagram without bytes is no end.
SCENE(zero_buffers_and_payloads)
{
    static const char *const at[] = {"127.0.0.1:0", NULL, "[::1]:0"};
    scene *self = frame;
    HAND;
    CRT_BEGIN(self, cx);
    for (self->k = 0; self->k < (ipv6_is_here() ? 3 : 2); self->k++) {
        CRT_AWAIT(self->r = datagram_pair_run(&self->pair[0], cx, self, at[self->k]));
        CHECK_EQ(self->r, 0);
        CRT_AWAIT(self->r = crt_udp_send(cx, self->v, "abc", 3));
        CHECK_EQ(self->r, 3);
        CRT_AWAIT(self->r = crt_udp_recv(cx, self->u, self->buf, 0));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(AT(s[0], crt_udp_recv(cx, self->u, self->buf, 10)), PENDING);   // it is gone
        CHECK_EQ(CANCEL(s[0], crt_udp_recv(cx, self->u, self->buf, 10)), UNWIND);
        CHECK_EQ(AT(s[0], crt_udp_recv(cx, self->u, self->buf, 0)), PENDING);    // and without one it waits
        CHECK_EQ(CANCEL(s[0], crt_udp_recv(cx, self->u, self->buf, 0)), UNWIND);
        CRT_AWAIT(self->r = crt_udp_send(cx, self->v, "", 0));
        CHECK_EQ(self->r, 0);
        CRT_AWAIT(self->r = crt_udp_peek_from(cx, self->u, self->buf, 10, &self->from));
        CHECK_EQ(self->r, 0);
        CRT_AWAIT(self->r = crt_udp_recv_from(cx, self->u, self->buf, 10, &self->from));
        CHECK_EQ(self->r, 0);
        // An empty one and one that does not fit are told apart, whichever comes first.
        CRT_AWAIT(self->r = crt_udp_send(cx, self->v, NULL, 0));
        CRT_AWAIT(self->r2 = crt_udp_send(cx, self->v, "x", 1));
        CHECK(self->r == 0 && self->r2 == 1);
        for (int i = 0; i < 8; i++) self->msg[i] = (crt_udp_msg){.buf = i == 1 ? NULL : self->buf, .size = 0};
        for (self->i = 0; self->i < 2; self->i += (int)self->r) {
            CRT_AWAIT(self->r = crt_udp_recv_many(cx, self->u, self->msg + self->i, 8 - (size_t)self->i));
            CHECK(self->r > 0);
            if (self->r <= 0) break;
        }
        CHECK_EQ(self->i, 2);
        CHECK_EQ(self->msg[0].flags + self->msg[1].flags, CRT_UDP_TRUNCATED);
        scene_drop(self);
    }
    CRT_FINALLY
        scene_drop(self);
    CRT_END;
}

// ---------------------------------------------------------------------------
// addresses

static crt_poll listens_run(pairing *self, crt_cx *cx, const char *at, scene *x)
{
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, at, NULL, &x->l));
    if (self->r == 0) CHECK_EQ(crt_local_addr(x->l, &x->at), 0);
    CRT_RETURN(self->r);
    CRT_END;
}
SCENE(dial_from)
{
    static const struct { const char *from, *to; int want; } t[] = {
        {"127.0.0.1:0", "127.0.0.1", 0},
        {"0.0.0.0:0", "127.0.0.1", 0},
        {"*:0", "127.0.0.1", 0},
        {"127.0.0.1:0", "localhost", 0},
        {"[::]:0", "127.0.0.1", -EAFNOSUPPORT},
        {"[::1]:0", "127.0.0.1", -EAFNOSUPPORT},
        {"127.0.0.1:0", "[::1]", -EAFNOSUPPORT},
        {"nonsense", "127.0.0.1", CRT_EINVAL},
        {"localhost:0", "127.0.0.1", CRT_EINVAL},
        {"", "127.0.0.1", CRT_EINVAL},
        {"192.0.2.77:0", "127.0.0.1", -EADDRNOTAVAIL},   // nobody's
#ifdef __linux__   // where all of 127/8 is this machine
        {"127.0.0.2:0", "127.0.0.1", 0},
#endif
    };
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = listens_run(&self->pair[0], cx, "127.0.0.1:0", self));
    CHECK_EQ(self->r, 0);
    for (self->i = 0; self->i < COUNT(t); self->i++) {
        self->from = (crt_addr){0};
        CRT_AWAIT(self->r = crt_tcp_connect_ex(cx, at_port(self, t[self->i].to),
                                               &(crt_connect_desc){.local = t[self->i].from}, &self->a));
        CHECK_EQ(self->r, t[self->i].want);
        if (self->r != t[self->i].want) fprintf(stderr, "  from %s to %s\n", t[self->i].from, t[self->i].to);
        if (self->r == 0) {
            crt_addr me;
            CRT_AWAIT(self->r = crt_accept(cx, self->l, &self->b, &self->from));
            CHECK_EQ(self->r, 0);
            CHECK_EQ(crt_local_addr(self->a, &me), 0);
            CHECK(crt_addr_equal(&me, &self->from));
            crt_addr_format(&me, self->text, sizeof self->text);
            if (t[self->i].from[0] == '1') CHECK(!strncmp(self->text, t[self->i].from, strlen(t[self->i].from) - 1));
        }
        crt_close(&self->a);
        crt_close(&self->b);
    }
    CRT_FINALLY
        scene_drop(self);
    CRT_END;
}

#ifdef __linux__   // elsewhere an address and all addresses may listen on one port
typedef struct place {
    const char *host;
    bool v6only;
} place;
static crt_poll binds_run(pairing *self, crt_cx *cx, scene *x, const char *at, bool v6only)
{
    bool second = x->l || x->u;
    if (x->k) return crt_udp_bind_ex(cx, at, &(crt_udp_desc){.v6only = v6only}, second ? &x->v : &x->u);
    (void)self;
    return crt_tcp_listen(cx, at, &(crt_listen_desc){.v6only = v6only}, second ? &x->l2 : &x->l);
}
// Two that listen on one port (TCP, then UDP): which go together.
SCENE(listener_pairs)
{
    static const struct { place a, b; int want; } t[] = {
        {{"127.0.0.1", 0}, {"127.0.0.2", 0}, 0},
        {{"127.0.0.1", 0}, {"0.0.0.0", 0}, -EADDRINUSE},
        {{"0.0.0.0", 0}, {"127.0.0.1", 0}, -EADDRINUSE},
        {{"*", 0}, {"127.0.0.1", 0}, -EADDRINUSE},
        {{"0.0.0.0", 0}, {"[::]", 1}, 0},   // from here on with IPv6
        {{"[::]", 1}, {"0.0.0.0", 0}, 0},
        {{"[::]", 1}, {"127.0.0.1", 0}, 0},
        {{"127.0.0.1", 0}, {"[::1]", 0}, 0},
        {{"[::1]", 0}, {"127.0.0.1", 0}, 0},
        {{"[::]", 0}, {"0.0.0.0", 0}, -EADDRINUSE},
        {{"0.0.0.0", 0}, {"[::]", 0}, -EADDRINUSE},
        {{"[::]", 0}, {"127.0.0.1", 0}, -EADDRINUSE},
        {{"[::]", 0}, {"[::1]", 0}, -EADDRINUSE},
        {{"[::]", 1}, {"[::]", 1}, -EADDRINUSE},
    };
    scene *self = frame;
    CRT_BEGIN(self, cx);
    for (self->k = 0; self->k < 2; self->k++)
        for (self->i = 0; self->i < (ipv6_is_here() ? COUNT(t) : 4); self->i++) {
            self->tries = 0;
            do {   // on the other address the port may be somebody else's
                scene_drop(self);
                snprintf(self->text, sizeof self->text, "%s:0", t[self->i].a.host);
                CRT_AWAIT(self->r = binds_run(NULL, cx, self, self->text, t[self->i].a.v6only));
                CHECK_EQ(self->r, 0);
                CHECK_EQ(self->k ? crt_local_addr(self->u, &self->at) : crt_local_addr(self->l, &self->at), 0);
                CRT_AWAIT(self->r = binds_run(NULL, cx, self, at_port(self, t[self->i].b.host), t[self->i].b.v6only));
            } while (self->r == -EADDRINUSE && t[self->i].want == 0 && ++self->tries < 30);
            CHECK_EQ(self->r, t[self->i].want);
            if (self->r != t[self->i].want) fprintf(stderr, "  %s and %s\n", t[self->i].a.host, t[self->i].b.host);
            scene_drop(self);
        }
    CRT_FINALLY
        scene_drop(self);
    CRT_END;
}

// A link-local address of this machine, its zone by name and by number.
static bool link_local(char by_name[96], char by_number[96])
{
    struct ifaddrs *list = NULL;
    bool found = false;
    if (getifaddrs(&list)) return false;
    for (struct ifaddrs *p = list; p && !found; p = p->ifa_next) {
        if (!p->ifa_addr || p->ifa_addr->sa_family != AF_INET6 || !(p->ifa_flags & IFF_UP)) continue;
        struct sockaddr_in6 at;
        crt_addr a;
        char text[96];
        memcpy(&at, p->ifa_addr, sizeof at);
        if (!IN6_IS_ADDR_LINKLOCAL(&at.sin6_addr)) continue;
        at.sin6_scope_id = 0;
        CHECK_EQ(crt_addr_from_sockaddr(&a, &at, sizeof at), 0);
        crt_addr_format(&a, text, sizeof text);
        int n = (int)strcspn(text, "]");
        snprintf(by_name, 96, "%.*s%%%s]", n, text, p->ifa_name);
        snprintf(by_number, 96, "%.*s%%%u]", n, text, if_nametoindex(p->ifa_name));
        found = true;
    }
    freeifaddrs(list);
    return found;
}
SCENE(zones)
{
    static char host[2][96];
    scene *self = frame;
    CRT_BEGIN(self, cx);
    if (!link_local(host[0], host[1])) CRT_RETURN(0);
    for (self->i = 0; self->i < 4; self->i++) {
        memset(self->pair, 0, sizeof self->pair);
        snprintf(self->text, sizeof self->text, "%s:0", host[self->i & 1]);
        CRT_AWAIT(self->r = listens_run(&self->pair[0], cx, self->text, self));
        if (self->r == -EADDRNOTAVAIL) CRT_RETURN(0);   // not given to it yet
        CHECK_EQ(self->r, 0);
        crt_addr_format(&self->at, self->text, sizeof self->text);
        CHECK(!strncmp(self->text, host[1], strlen(host[1])));
        CRT_AWAIT(self->r = crt_tcp_connect_ex(cx, at_port(self, host[self->i >> 1]),
                                               &(crt_connect_desc){.local = self->i ? NULL : "[::]:0"}, &self->a));
        CHECK_EQ(self->r, 0);
        CRT_AWAIT(self->r = crt_accept(cx, self->l, &self->b, &self->from));
        CHECK_EQ(self->r, 0);
        crt_addr_format(&self->from, self->text, sizeof self->text);
        CHECK(!strncmp(self->text, host[1], strlen(host[1])));
        // The zone comes along with a datagram, so that it can be answered.
        snprintf(self->text, sizeof self->text, "%s:0", host[self->i & 1]);
        CRT_AWAIT(self->r = crt_udp_bind(cx, self->text, &self->u));
        CRT_AWAIT(self->r2 = crt_udp_bind(cx, "[::]:0", &self->v));
        CHECK(self->r == 0 && self->r2 == 0);
        CHECK_EQ(crt_local_addr(self->u, &self->at), 0);
        CRT_AWAIT(self->r = crt_udp_send_to(cx, self->v, "q", 1, &self->at));
        CHECK_EQ(self->r, 1);
        CRT_AWAIT(self->r = crt_udp_recv_from(cx, self->u, self->buf, 9, &self->from));
        CHECK_EQ(self->r, 1);
        CRT_AWAIT(self->r = crt_udp_send_to(cx, self->u, "answer", 6, &self->from));
        CHECK_EQ(self->r, 6);
        CRT_AWAIT(self->r = crt_udp_recv_from(cx, self->v, self->buf, 9, &self->from));
        CHECK(self->r == 6 && crt_addr_equal(&self->at, &self->from));
        scene_drop(self);
    }
    CRT_FINALLY
        scene_drop(self);
    CRT_END;
}
#endif

// ---------------------------------------------------------------------------
// children

static char home[64];   // a directory of this run's own
static const char *in_home(char path[128], const char *name)
{
    snprintf(path, 128, "%s/%s", home, name);
    return path;
}
static void put(const char *name, const char *text, mode_t mode)
{
    char path[128];
    int fd = open(in_home(path, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
    CHECK_EQ(fchmod(fd, mode), 0);
    close(fd);
}
static void directory(const char *name)
{
    char path[128];
    CHECK_EQ(mkdir(in_home(path, name), 0755), 0);
}
// What env_cases and start_failures find there: files first, so that they go in this order.
static const char *const things[] = {
    "p1/prog", "p2/prog", "p3/prog", "p1", "p2", "p3", "noexec", "empty", NULL
};
static void furnish(void)
{
    CHECK_EQ(test_directory(home, sizeof home), 0);
    directory("p1");
    directory("p2");
    directory("p3");
    put("p1/prog", "x", 0600);   // not to be executed
    directory("p2/prog");
    put("p3/prog", "#!/bin/sh\necho three\n", 0755);
    put("noexec", "#!/bin/sh\n", 0600);
    put("empty", "", 0755);
}
static void clear_out(void)
{
    char path[128];
    for (int i = 0; things[i]; i++) CHECK_EQ(remove(in_home(path, things[i])), 0);
    CHECK_EQ(rmdir(home), 0);
}

typedef struct env_case {
    const char *argv[4], *program, *dir;
    const char *env[4];   // "~" is the directory above
    bool clear;
    int want;
    const char *out;
} env_case;
static const env_case env_case_list[] = {
    // Of two the last one holds, also where it takes the name away.
    {{"/usr/bin/env"}, .env = {"A=1", "A=2"}, .clear = true, .out = "A=2\n"},
    {{"/usr/bin/env"}, .env = {"A=1", "B=x", "A"}, .clear = true, .out = "B=x\n"},
    {{"/usr/bin/env"}, .env = {"A", "A=3"}, .clear = true, .out = "A=3\n"},
    {{"/usr/bin/env"}, .env = {"A="}, .clear = true, .out = "A=\n"},
    {{"/usr/bin/env"}, .env = {"A=b=c"}, .clear = true, .out = "A=b=c\n"},
    {{"/usr/bin/env"}, .env = {"AB=1", "A=2"}, .clear = true, .out = "AB=1\nA=2\n"},
    {{"/usr/bin/env"}, .env = {"a=1", "A=2"}, .clear = true, .out = "a=1\nA=2\n"},
    {{"/usr/bin/env"}, .env = {"A=x\ny"}, .clear = true, .out = "A=x\ny\n"},
    {{"/usr/bin/env"}, .clear = true, .out = ""},
    {{"/bin/sh", "-c", "echo $SCENE_KEPT:$NEW"}, .env = {"NEW=n"}, .out = "kept:n\n"},
    {{"/bin/sh", "-c", "echo $SCENE_KEPT:$NEW"}, .env = {"NEW=n", "SCENE_KEPT"}, .out = ":n\n"},
    // The child's PATH: what is no program is passed over, and remembered where nothing else comes.
    {{"prog"}, .env = {"PATH=/no/such:~/p1:~/p2:~/p3"}, .out = "three\n"},
    {{"prog"}, .env = {"PATH=/no/such:~/p1:~/p2"}, .want = -EACCES},
    {{"prog"}, .env = {"PATH=/no/such"}, .want = -ENOENT},
    // Seen from the child's directory, which is what an empty entry means too.
    {{"./prog"}, .dir = "~/p3", .out = "three\n"},
    {{"prog"}, .dir = "~/p3", .env = {"PATH=:/no/such"}, .out = "three\n"},
    {{"prog"}, .dir = "~/p3", .env = {"PATH=/no/such:"}, .out = "three\n"},
    {{"true"}, .clear = true, .out = ""},
    {{"other", "-c", "echo $0"}, .program = "sh", .out = "other\n"},
};
// `text` with the directory in the place of each "~".
static const char *at_home(char *into, size_t room, const char *text)
{
    size_t n = 0;
    for (; *text && n + sizeof home < room; text++) {
        if (*text == '~') n += (size_t)snprintf(into + n, room - n, "%s", home);
        else into[n++] = *text;
    }
    into[n] = 0;
    return into;
}
static void begin_case(scene *self, const env_case *c)
{
    static char env[4][512], dir[128];
    static const char *list[5];
    for (int i = 0; i < 4; i++) list[i] = c->env[i] ? at_home(env[i], sizeof env[i], c->env[i]) : NULL;
    self->desc = (crt_process_desc){.argv = c->argv, .program = c->program, .env = list, .env_clear = c->clear};
    if (c->dir) self->desc.dir = at_home(dir, sizeof dir, c->dir);
    memset(&self->o, 0, sizeof self->o);
}
SCENE(env_cases)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < COUNT(env_case_list); self->i++) {
        begin_case(self, &env_case_list[self->i]);
        CRT_AWAIT(self->r = crt_process_output(cx, &self->desc, &self->o));
        const env_case *c = &env_case_list[self->i];
        CHECK_EQ(self->r, c->want);
        bool same = !c->out || (self->o.out && !strcmp(self->o.out, c->out));
        CHECK(same);
        if (self->r != c->want || !same)
            fprintf(stderr, "  case %d: %s", self->i, self->o.out ? (char *)self->o.out : "nothing\n");
        crt_output_free(&self->o);
    }
    CRT_FINALLY
        scene_drop(self);
    CRT_END;
}

// Its own child keeps the pipes of a child open, here for as long as there may come something on descriptor 5.
#define HELD "{ read x <&5; } & "
static void begin_held(scene *self, const char *const *argv)
{
    self->file = (crt_process_fd){.fd = self->fd[0], .as = 5};
    self->desc = (crt_process_desc){.argv = argv, .fds = &self->file, .fd_count = 1};
    memset(&self->o, 0, sizeof self->o);
}
SCENE(grandchild_holds_output)
{
    static const char *const says[] = {"/bin/sh", "-c", HELD "echo said; exit 7", NULL};
    static const char *const says_much[] = {"/bin/sh", "-c", HELD "echo 0123456789; read x <&5", NULL};
    static const char *const complains[] = {"/bin/sh", "-c", "echo keep; echo four >&2; read x <&5", NULL};
    static const char *const group[] = {"/bin/sh", "-c", "sleep 100 & sleep 100 & echo up; wait", NULL};
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(test_pipe(self->fd), 0);
    // A limit in time ends it; longer and longer, until the child has said what it has to say.
    for (self->limit = CRT_MS(20); ; self->limit *= 2) {
        begin_held(self, says);
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, self->limit, crt_process_output(cx, &self->desc, &self->o)));
        CHECK_EQ(self->r, CRT_ETIMEDOUT);
        if ((self->o.out_n == 5 && self->o.status.code == 7) || self->limit > CRT_SEC(20)) break;
        crt_output_free(&self->o);
    }
    CHECK(self->o.out_n == 5 && self->o.status.code == 7);
    crt_output_free(&self->o);
    // So does a limit in bytes, of either kind.
    begin_held(self, says_much);
    self->o.max_out = 5;
    CRT_AWAIT(self->r = crt_process_output(cx, &self->desc, &self->o));
    CHECK_EQ(self->r, -EFBIG);
    CHECK_EQ(self->o.out_n, 5);
    CHECK_EQ(self->o.status.signal, SIGKILL);   // it would wait for ever
    crt_output_free(&self->o);
    begin_held(self, complains);
    self->o.max_err = 3;
    CRT_AWAIT(self->r = crt_process_output(cx, &self->desc, &self->o));
    CHECK_EQ(self->r, -EFBIG);
    CHECK(self->o.err_n == 3 && !memcmp(self->o.err, "fou", 4));
    CHECK_EQ(self->o.status.signal, SIGKILL);
    crt_output_free(&self->o);
    close(self->fd[0]);
    close(self->fd[1]);   // those that hold hear the end, and go
    // Who ends a whole group ends the pipes too.
    self->desc = (crt_process_desc){.argv = group, .group = CRT_PROCESS_NEW_GROUP, .out.kind = CRT_STDIO_PIPE};
    CRT_AWAIT(self->r = crt_process_spawn(cx, &self->desc, &self->p));
    CHECK_EQ(self->r, 0);
    self->a = crt_process_take_stdout(self->p);
    CRT_AWAIT(self->r = crt_read_exact(cx, self->a, self->buf, 3));
    CHECK_EQ(self->r, 3);
    CHECK_EQ(crt_process_signal_group(self->p, SIGKILL), 0);
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 3));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CHECK(self->r == 0 && self->status.signal == SIGKILL);
    CHECK_EQ(crt_process_signal_group(self->p, SIGKILL), -ESRCH);
    CRT_FINALLY
        scene_drop(self);
    CRT_END;
}

// What cannot be started leaves nothing: no descriptor (plays looks), no child.
SCENE(start_failures)
{
    static const struct { const char *program, *dir; int fd, want; } t[] = {
        {.program = "~/missing", .want = -ENOENT},
        {.program = "~/noexec", .want = -EACCES},
        {.program = "~/empty", .want = -ENOEXEC},
        {.program = "~/p1", .want = -EACCES},
        {.program = "~/noexec/x", .want = -ENOTDIR},
        {.program = "no-such-program-anywhere", .want = -ENOENT},
        {.program = "", .want = -ENOENT},
        {.program = "/bin/sh", .dir = "/no/such", .want = -ENOENT},
        {.program = "/bin/sh", .dir = "~/noexec", .want = -ENOTDIR},
        {.program = "/bin/sh", .fd = 999, .want = -EBADF},
    };
    static const char *const env[] = {"PATH=/bin:/usr/bin", NULL};   // no place that not all may look into
    static const char *argv[2];
    static char program[128], dir[128];
    static crt_process_fd file;
    scene *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 3 * COUNT(t); self->i++) {
        self->k = self->i % COUNT(t);
        argv[0] = at_home(program, sizeof program, t[self->k].program);
        file = (crt_process_fd){.fd = t[self->k].fd, .as = 5};
        self->desc = (crt_process_desc){.argv = argv, .env = env, .fds = &file, .fd_count = t[self->k].fd != 0};
        self->desc.in.kind = self->desc.out.kind = self->desc.err.kind = CRT_STDIO_PIPE;
        if (t[self->k].dir) self->desc.dir = at_home(dir, sizeof dir, t[self->k].dir);
        CRT_AWAIT(self->r = crt_process_spawn(cx, &self->desc, &self->p));
        CHECK_EQ(self->r, t[self->k].want);
        if (self->r != t[self->k].want) fprintf(stderr, "  case %d\n", self->k);
        CHECK(!self->p);
        crt_close(&self->p);
    }
    CRT_FINALLY
        scene_drop(self);
    CRT_END;
}

// ---------------------------------------------------------------------------
// time, tokens

// Three tasks insert, remove and set anew what a fourth takes out: each entry comes out once.
enum { MAKERS = 3, ENTRIES = 1000 };
static crt_delay_queue queue;
static crt_delay entry[MAKERS * ENTRIES];
static int out[MAKERS * ENTRIES];   // atomic: how often it has come out
typedef struct maker {
    crt_frame co;
    int id, k;
    unsigned seed;
} maker;
static void make_one(maker *self, crt_cx *cx)
{
    int x = self->id * ENTRIES + self->k;
    self->seed = self->seed * 1103515245u + 12345 + (unsigned)self->id;
    CHECK_EQ(crt_delay_insert(cx, &queue, &entry[x], CRT_US((self->seed >> 16) % 4000)), 0);
    if (self->k < 4) return;
    if ((self->seed >> 8) % 4 == 0 && crt_delay_remove(&queue, &entry[x - 3])) ADD(out[x - 3], 1);
    if ((self->seed >> 8) % 4 == 1) {
        int e = crt_delay_reset(cx, &queue, &entry[x - 2], CRT_US(self->seed % 3000));
        CHECK(e == 0 || e == CRT_EINVAL);   // it has come out already
    }
}
static crt_poll maker_run(void *frame, crt_cx *cx)
{
    maker *self = frame;
    CRT_BEGIN(self, cx);
    for (self->k = 0; self->k < ENTRIES; self->k++) {
        make_one(self, cx);
        if (self->k % 50 == 0) CRT_AWAIT(crt_sleep(cx, CRT_US(200)));
    }
    CRT_END;
}
static bool all_made(scene *self)
{
    for (int i = 0; i < MAKERS; i++) if (!crt_is_finished(self->join[i])) return false;
    return true;
}
SCENE(delay_queue_races)
{
    static crt_delay *next;
    scene *self = frame;
    CRT_BEGIN(self, cx);
    memset(entry, 0, sizeof entry);
    memset(out, 0, sizeof out);
    for (int k = 0; k < MAKERS; k++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[k], maker_run, &(maker){.id = k, .seed = 7}), 0);
    while (!all_made(self) || crt_delay_len(&queue)) {
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(2), crt_delay_next(cx, &queue, &next)));
        if (self->r == 0) ADD(out[next - entry], 1);
        else CHECK(self->r == CRT_EEMPTY || self->r == CRT_ETIMEDOUT);
        if (self->r == CRT_EEMPTY) CRT_AWAIT(crt_sleep(cx, CRT_US(100)));
    }
    for (self->k = 0; self->k < MAKERS; self->k++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->k], NULL));
        CHECK_EQ(self->r, 0);
    }
    int wrong = 0;
    for (int k = 0; k < COUNT(out); k++) wrong += out[k] != 1;
    CHECK_EQ(wrong, 0);
    crt_delay_queue_drop(&queue);
    CRT_END;
}
// Times that are over, and years; one that is moved to now under the task that waits for it.
SCENE(delays_of_all_lengths)
{
    static crt_delay *next, x[4];
    scene *self = frame;
    CRT_BEGIN(self, cx);
    memset(x, 0, sizeof x);
    CHECK_EQ(crt_delay_insert(cx, &queue, &x[0], CRT_FOREVER), 0);
    CHECK_EQ(crt_delay_insert(cx, &queue, &x[1], CRT_FOREVER - 1), 0);
    CHECK_EQ(crt_delay_insert_at(cx, &queue, &x[2], INT64_MIN), 0);
    CHECK_EQ(crt_delay_insert(cx, &queue, &x[3], INT64_MIN), 0);
    CHECK_EQ(crt_delay_insert(cx, &queue, &x[3], 0), CRT_EBUSY);
    for (self->k = 0; self->k < 2; self->k++) {
        CRT_AWAIT(self->r = crt_delay_next(cx, &queue, &next));
        CHECK(self->r == 0 && (next == &x[2] || next == &x[3]));
    }
    CRT_AWAIT(self->r = crt_select_biased(cx, &self->sel, crt_on(cx, 0, crt_delay_next(cx, &queue, &next)),
                                          crt_on(cx, 1, (crt_delay_reset(cx, &queue, &x[0], CRT_MS(2)),
                                                         crt_sleep(cx, CRT_SEC(60))))));
    CHECK(self->r == 0 && next == &x[0]);
    crt_delay_queue_drop(&queue);
    CRT_END;
}

// A chain of tokens as deep as no stack: cancelled, and let go from its end.
static void deep_tokens(void)
{
    enum { DEEP = 200000 };
    crt_cancel_token **t = calloc(DEEP, sizeof *t);
    t[0] = crt_cancel_token_new();
    for (int i = 1; i < DEEP; i++) t[i] = crt_cancel_token_child(t[i - 1]);
    crt_cancel_token_cancel(t[DEEP / 2]);
    CHECK(!crt_cancel_token_is_cancelled(t[DEEP / 2 - 1]));
    CHECK(crt_cancel_token_is_cancelled(t[DEEP - 1]));
    crt_cancel_token_cancel(t[0]);
    CHECK(crt_cancel_token_is_cancelled(t[1]));
    for (int i = 0; i < DEEP; i++) crt_cancel_token_drop(&t[i]);   // the last one holds all of them
    free(t);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    CHECK_EQ(setenv("SCENE_KEPT", "kept", 1), 0);
    furnish();
    TEST_ON_EACH(close_under_each_wait);
    TEST_ON_EACH(writes_cut_short_count_right);
    TEST_ON_EACH(copies_between_kinds);
    TEST_ON_EACH(limits_race_the_end);
    TEST_ON_EACH(zero_buffers_and_payloads);
    TEST_ON_EACH(dial_from);
#ifdef __linux__
    TEST_ON_EACH(listener_pairs);
    TEST_ON_EACH(zones);
#endif
    TEST_ON_EACH(env_cases);
    TEST_ON_EACH(grandchild_holds_output);
    TEST_ON_EACH(start_failures);
    TEST_ON_EACH(delay_queue_races);
    TEST_ON_EACH(delays_of_all_lengths);
    TEST(deep_tokens);
    clear_out();
    return test_end();
}
