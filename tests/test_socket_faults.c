// Peek, vectored I/O, pipes and racing connects while the system calls fail as they may:
// every byte arrives, or there is a clear error; nothing is left open. A failure names
// its seed: test_socket_faults takes one as second argument.
#include <netdb.h>
static int test_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **list);
static void test_freeaddrinfo(struct addrinfo *list);
#define getaddrinfo test_getaddrinfo
#define freeaddrinfo test_freeaddrinfo
#define CRT_PLATFORM_HEADER "faulty_platform.h"
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

#include <dirent.h>

// Any name has two addresses: one that refuses, and the listener.
static crt_addr fake[2];
static struct { struct addrinfo info[2]; } answer;
static int test_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **list)
{
    (void)host, (void)port, (void)hints;
    for (int i = 0; i < 2; i++)
        answer.info[i] = (struct addrinfo){.ai_addr = (struct sockaddr *)(void *)fake[i].u.bytes, .ai_addrlen = fake[i].len,
                                           .ai_next = i ? NULL : &answer.info[1]};
    *list = answer.info;
    return 0;
}
static void test_freeaddrinfo(struct addrinfo *list) { (void)list; }

enum { BYTES = 60000, PIECES = 50 };
static unsigned char sent[BYTES];
typedef struct transfer {
    crt_frame co;
    crt_listener *l;
    crt_stream *from, *to;
    CRT_SELECT(2) both;
    crt_iovec out[PIECES], in[4];
    unsigned char got[BYTES], peeked[64];
    crt_poll a, b, r, n, looked;
    size_t done;
    int kind, fds;
    uint32_t seed;
    bool fatal, failed;
    crt_frame reader;
} transfer;
static uint32_t next(transfer *t) { return (t->seed = t->seed * 1664525 + 1013904223) >> 16; }
static bool clear_error(crt_poll r) { return r < 0 && r != CRT_EAGAIN && r != CRT_PENDING && r != -EINTR; }

// Reads all of it, by readv into pieces of random sizes; sockets are peeked at before.
static crt_poll reader_run(transfer *self, crt_cx *cx)
{
    CRT_BEGIN(&self->reader, cx);
    while (self->done < BYTES) {
        self->looked = 0;
        if (self->kind < 2) {
            CRT_AWAIT(self->looked = crt_peek(cx, self->to, self->peeked, sizeof self->peeked));
            if (self->looked <= 0) CRT_RETURN(self->looked);
        }
        for (int i = 0; i < 4; i++) {
            size_t room = BYTES - self->done, some = next(self) % 900;
            for (int k = 0; k < i; k++) room -= self->in[k].len;
            self->in[i] = (crt_iovec){self->got + BYTES - room, i == 3 ? crt__min(room, some + 1) : crt__min(room, some)};
        }
        CRT_AWAIT(self->n = crt_readv(cx, self->to, self->in, 4));
        if (self->n <= 0) CRT_RETURN(self->n);
        CHECK(!memcmp(self->peeked, self->got + self->done, (size_t)crt__min(self->looked, self->n)));
        self->done += (size_t)self->n;
    }
    CRT_RETURN((crt_poll)self->done);
    CRT_END;
}
// Who fails closes his end, so that the other does not wait for ever.
static crt_poll closing(crt_poll r, crt_stream **s)
{
    if (r <= 0 && r > CRT_UNWIND) crt_close(s);
    return r;
}
static crt_poll transfer_run(void *frame, crt_cx *cx)
{
    transfer *self = frame;
    CRT_BEGIN(self, cx);
    // A connection: pair, TCP by a name, pipe.
    if (self->kind == 0) self->r = crt_stream_pair(cx, &self->from, &self->to);
    if (self->kind == 2) self->r = crt_pipe(cx, &self->to, &self->from);
    if (self->kind == 1) {
        CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
        if (self->r == 0) {
            CHECK_EQ(crt_local_addr(self->l, &fake[1]), 0);
            // A connect that fails leaves the other to wait.
            CRT_AWAIT(self->r = crt_try_join(cx, &self->both,
                crt_on(cx, 0, self->a = crt_tcp_connect(cx, "anybody:1", &self->from)),
                crt_on(cx, 1, self->b = crt_accept(cx, self->l, &self->to, NULL))));
        }
    }
    if (self->r < 0) {
        CHECK(self->fatal && clear_error(self->r));
        CRT_RETURN(0);
    }
    for (int i = 0, at = 0; i < PIECES; i++) {
        int some = (int)(next(self) % 2400);
        if (some > BYTES - at || i == PIECES - 1) some = BYTES - at;
        self->out[i] = (crt_iovec){sent + at, (size_t)some};
        at += some;
    }
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->a = closing(reader_run(self, cx), &self->to)),
        crt_on(cx, 1, self->b = closing(crt_writev_all(cx, self->from, self->out, PIECES), &self->from))));
    if (self->fatal) {
        CHECK(self->a == BYTES || clear_error(self->a) || (self->a == 0 && self->b < 0));
        CHECK(self->b == BYTES || clear_error(self->b));
    } else {
        CHECK_EQ(self->a, BYTES);
        CHECK_EQ(self->b, BYTES);
    }
    CHECK(!memcmp(sent, self->got, self->done));
    CRT_FINALLY
        crt_close(&self->l);
        crt_close(&self->from);
        crt_close(&self->to);
    CRT_END;
}
static uint32_t only_seed;
static void faults(bool fatal)
{
    static const uint32_t rates[] = {20, 150, 400};
    uint32_t injected = 0;
    for (uint32_t seed = 1; seed <= 240; seed++) {
        if (only_seed && seed != only_seed) continue;
        crt_runtime *rt;
        int workers = (int)(seed % 3), before = test__bad, fds = test_fd_count();
        crt_config c = {.flavor = workers ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD, .worker_threads = workers * 2,
                        .log.func = test_log};
        fault_begin(fatal ? rates[seed / 3 % 3] / 10 : rates[seed / 3 % 3], fatal, seed);
        CHECK_EQ(crt_runtime_new(&c, &rt), 0);
        transfer *t = calloc(1, sizeof *t);
        t->kind = (int)(seed / 9 % 3);
        t->seed = seed;
        t->fatal = fatal;
        CHECK_EQ(crt_block_on(rt, transfer_run, t), 0);
        crt_runtime_drop(&rt);
        free(t);
        for (int i = 0; i < FAULT_KINDS; i++) injected += __atomic_load_n(&fault.injected[i], __ATOMIC_RELAXED);
        CHECK_EQ(test_fd_count(), fds);
        if (test__bad != before) fprintf(stderr, "  with seed %u\n", seed);
    }
    CHECK(only_seed || injected > (fatal ? 150 : 5000));
}
static void every_byte_arrives(void) { faults(false); }
static void or_a_clear_error(void) { faults(true); }

// Where crt would wait for a while and look again, a runtime without timers says why instead.
enum { PEERS = 20 };
typedef struct untimed {
    crt_frame co;
    crt_listener *l;
    crt_stream *s, *peers[PEERS];
    crt_udp *u, *deaf;
    crt_connect_desc desc;
    crt_addr to;
    char path[40];
    int i;
    crt_poll r;
} untimed;
static crt_poll untimed_run(void *frame, crt_cx *cx)
{
    static const int full[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
    untimed *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    CHECK_EQ(self->r, 0);
    for (self->i = 0; self->i < 4; self->i++) {
        fault_always(FAULT_ACCEPT, full[self->i]);
        CRT_AWAIT(self->r = crt_accept(cx, self->l, &self->s, NULL));
        fault_always(FAULT_ACCEPT, 0);
        CHECK(self->r == -full[self->i] && !self->s);
    }
    // One address after the other, without a limit for each.
    CHECK_EQ(crt_local_addr(self->l, &fake[1]), 0);
    CRT_AWAIT(self->r = crt_tcp_connect(cx, "anybody:1", &self->s));
    CHECK(self->r == 0 && self->s);
    crt_close(&self->s);
    self->desc.attempt_timeout = CRT_MS(1);
    CRT_AWAIT(self->r = crt_tcp_connect_ex(cx, "anybody:1", &self->desc, &self->s));
    CHECK(self->r == CRT_ENODRIVER && !self->s);
    crt_close(&self->l);
#ifdef __linux__   // elsewhere such a listener refuses
    snprintf(self->path, sizeof self->path, "@crt-untimed-%d", (int)getpid());
    CRT_AWAIT(self->r = crt_unix_listen(cx, self->path, &(crt_listen_desc){.backlog = 1}, &self->l));
    for (self->i = 0; self->i < PEERS && self->r == 0; self->i++)
        CRT_AWAIT(self->r = crt_unix_connect(cx, self->path, &self->peers[self->i]));
    CHECK_EQ(self->r, CRT_EAGAIN);
    crt_close(&self->l);
    CRT_AWAIT(self->r = crt_unix_dgram_bind(cx, self->path, NULL, &self->deaf));
    CRT_AWAIT(self->r = crt_unix_dgram_bind(cx, NULL, NULL, &self->u));
    CHECK_EQ(crt_addr_unix(self->path, &self->to), 0);
    for (self->i = 0, self->r = 1; self->i < 100000 && self->r == 1; self->i++)
        CRT_AWAIT(self->r = crt_udp_send_to(cx, self->u, "x", 1, &self->to));
    CHECK_EQ(self->r, CRT_EAGAIN);
#endif
    CRT_FINALLY
        crt_close(&self->l);
        for (int i = 0; i < PEERS; i++) crt_close(&self->peers[i]);
        crt_close(&self->s);
        crt_close(&self->u);
        crt_close(&self->deaf);
    CRT_END;
}
static void no_timer_no_pause(crt_runtime *rt)
{
    int fds = test_fd_count();
    untimed frame = {.i = 0};
    CHECK_EQ(crt_block_on(rt, untimed_run, &frame), 0);
    CHECK_EQ(test_fd_count(), fds);
}

#ifndef _WIN32
// What the reactor does not take. crt__signal_subscribe: close(twin) removed. crt__sock_watch: crt__ready_reset
// removed: what the record was ready for (of a pipe the direction that it has not) the next one would be, too.
typedef struct refused {
    crt_frame co;
    crt_stream *a, *b;
    crt_timer timer;
    crt_poll r;
    int fd[2], fds, i;
} refused;
static crt_poll refused_run(void *frame, crt_cx *cx)
{
    refused *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(1), crt_signal_recv(cx, SIGUSR2)));   // its pipe is made
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CRT_END;
}
static crt_poll refused_again_run(void *frame, crt_cx *cx)
{
    refused *self = frame;
    CRT_BEGIN(self, cx);
    self->fds = test_fd_count();
    fault_always(FAULT_ADD, ENOSPC);
    CRT_AWAIT(self->r = crt_signal_recv(cx, SIGUSR2));
    fault_always(FAULT_ADD, 0);
    CHECK_EQ(self->r, -ENOSPC);
    CHECK_EQ(test_fd_count(), self->fds);
    CHECK(!test_pipe(self->fd));
    for (self->i = 0; self->i < 2; self->i++) {
        fault_always(FAULT_ADD, ENOSPC);
        CHECK_EQ(crt_stream_from_fd(cx, self->fd[self->i], CRT_FD_OWN, &self->a), -ENOSPC);
        fault_always(FAULT_ADD, 0);
        CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(1), crt_readable(cx, self->a)));
        CHECK_EQ(self->r, CRT_ETIMEDOUT);
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(1), crt_readable(cx, self->b)));
        CHECK_EQ(self->r, CRT_ETIMEDOUT);
        crt_close(&self->a);
        crt_close(&self->b);
        close(self->fd[self->i]);
    }
    CRT_END;
}
static void what_the_reactor_refuses_leaves_nothing(void)
{
    crt_fn fns[] = {refused_run, refused_again_run};
    for (int i = 0; i < 2; i++) {
        crt_runtime *rt;
        CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt), 0);
        CHECK_EQ(crt_block_on(rt, fns[i], &(refused){.i = 0}), 0);
        crt_runtime_drop(&rt);
    }
}
#endif

int main(int argc, char **argv)
{
    test_init(argc, argv);
    if (argc > 2) only_seed = (uint32_t)atoi(argv[2]);
    for (int i = 0; i < BYTES; i++) sent[i] = (unsigned char)((uint32_t)i * 2654435761u >> 24);
    crt_addr_parse("127.0.0.1:1", &fake[0]);
    TEST(every_byte_arrives);
    TEST(or_a_clear_error);
    fault_begin(0, false, 0);   // while no worker looks
    TEST_ON_EACH_WITH(no_timer_no_pause, .drivers = CRT_DRIVER_IO);
#ifndef _WIN32
    TEST(what_the_reactor_refuses_leaves_nothing);
#endif
    return test_end();
}
