// Addresses, listening, connecting, accepting, options; what is left when the
// descriptors, the driver or the runtime are gone.
#define CRT_PLATFORM_HEADER "faulty_platform.h"   // counts the system calls
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <time.h>

#ifdef __linux__
enum { DOUBLED = 2 };   // the size of a buffer, as it is told
#else
enum { DOUBLED = 1 };
#endif

// ---- tools -----------------------------------------------------------------

#ifdef _WIN32
enum { WINDOWS = 1 };
#define fd_count test_fd_count
#else
enum { WINDOWS = 0 };
// The open descriptors of this process, as a set.
enum { FDS = 256 };
static int fd_list(bool *open_)
{
    DIR *d = opendir("/proc/self/fd");
    struct dirent *e;
    int n = 0;
    if (open_) memset(open_, 0, FDS);
    while ((e = readdir(d))) {
        int fd = atoi(e->d_name);
        if (e->d_name[0] == '.' || fd == dirfd(d)) continue;
        if (open_ && fd < FDS) open_[fd] = true;
        n++;
    }
    closedir(d);
    return n;
}
static int fd_count(void) { return fd_list(NULL); }
#endif
static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
static int socket_option(crt_stream *s, int level, int name)
{
    int value = -1;
    socklen_t n = sizeof value;
    CHECK_EQ(getsockopt((int)crt_stream_fd(s), level, name, &value, &n), 0);
    return value;
}
static void text_of(crt_listener *l, char *text, size_t n)
{
    crt_addr a;
    CHECK_EQ(crt_local_addr(l, &a), 0);
    CHECK(crt_addr_format(&a, text, n) > 0);
}
// A plain blocking socket that is connected to the listener, from outside the runtime.
static int plain_connect(crt_listener *l)
{
    crt_addr a;
    int fd = socket(AF_INET, SOCK_STREAM | TEST_CLOEXEC, 0);
    CHECK_EQ(crt_local_addr(l, &a), 0);
    CHECK_EQ(connect(fd, (struct sockaddr *)(void *)a.u.bytes, a.len), 0);
    return fd;
}
static bool has_ipv6(void)
{
    crt_addr a;
    int fd = socket(AF_INET6, SOCK_STREAM | TEST_CLOEXEC, 0);
    bool yes = fd >= 0 && !crt_addr_parse("[::1]:0", &a) && !bind(fd, (struct sockaddr *)(void *)a.u.bytes, a.len);
    if (fd >= 0) close(fd);
    return yes;
}

typedef struct root {
    crt_frame co;
    crt_listener *l, *l2;
    crt_stream *a, *b, *c, *d;
    crt_join_handle *join[16];
    CRT_SELECT(2) both;
    crt_timer timer;
    crt_listen_desc desc;
    crt_addr addr, peer;
    intptr_t result;
    crt_poll r, ra, rb;
    int i, k, n, fds, plain[16];
    double cpu;
    crt_instant since;
    char text[64], buf[64];
} root;
static void close_all(root *self)
{
    crt_close(&self->a);
    crt_close(&self->b);
    crt_close(&self->c);
    crt_close(&self->d);
    crt_close(&self->l);
    crt_close(&self->l2);
    for (int i = 0; i < 16; i++) crt_detach(&self->join[i]);
}
static void run_root(crt_runtime *rt, crt_fn fn)
{
    root *r = calloc(1, sizeof *r);
    int fds = fd_count();
    CHECK_EQ(crt_block_on(rt, fn, r), 0);
    CHECK_EQ(fd_count(), fds);
    free(r);
}
// Connects self->a to self->b through self->l.
typedef struct meet {
    crt_frame co;
    CRT_SELECT(2) both;
    crt_poll r, a, b;
} meet;
static crt_poll meet_run(meet *self, crt_cx *cx, root *r)
{
    CRT_BEGIN(self, cx);
    text_of(r->l, r->text, sizeof r->text);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->a = crt_tcp_connect(cx, r->text, &r->a)),
        crt_on(cx, 1, self->b = crt_accept(cx, r->l, &r->b, &r->peer))));
    CHECK_EQ(self->a, 0);
    CHECK_EQ(self->b, 0);
    CRT_END;
}

// ---- addresses --------------------------------------------------------------

static void addresses_are_parsed_strictly(void)
{
    static const struct { const char *text, *back; } good[] = {
        {"127.0.0.1:80", "127.0.0.1:80"},   {"0.0.0.0:0", "0.0.0.0:0"},
        {"*:8080", "0.0.0.0:8080"},         {"255.255.255.255:65535", "255.255.255.255:65535"},
        {"[::1]:80", "[::1]:80"},           {"[::]:0", "[::]:0"},
        {"[fe80::1:2]:1", "[fe80::1:2]:1"}, {"[::ffff:1.2.3.4]:5", "[::ffff:1.2.3.4]:5"},
        {"[0:0:0:0:0:0:0:1]:443", "[::1]:443"},
        {"[ABCD:EF01:2345:6789:ABCD:EF01:2345:6789]:65535", "[abcd:ef01:2345:6789:abcd:ef01:2345:6789]:65535"},
    };
    static const char *const bad[] = {
        "", ":", ":80", "80", "127.0.0.1", "127.0.0.1:", "127.0.0.1: 80", "127.0.0.1:80 ", " 127.0.0.1:80",
        "127.0.0.1:+80", "127.0.0.1:-1", "127.0.0.1:65536", "127.0.0.1:99999999999999999999", "127.0.0.1:8o",
        "127.0.0.1:0x50", "127.0.0.1:80\n", "127.1:80", "127.0.0:80", "127.0.0.256:80", "127.0.0.1.1:80",
        "2130706433:80", "0177.0.0.1x:80", "localhost:80", "a.b.c.d:80", "**:80", "[*]:80", "*", "*:",
        "::1:80", "::1", "[::1]", "[::1]:", "[::1:80", "::1]:80", "[::1]80", "[]:80", "[::1]x:80", "[[::1]]:80",
        "[127.0.0.1]:80", "[::1%]:80", "[::1%no such interface]:80", "[%1]:80", "[::1%4294967296]:80", "[:::1]:80", "[1::2::3]:80", "[::1 ]:80", "[g::1]:80", "[", "[]", "[:", "]:1",
        "1111111111111111111111111111111111111111111111111111111111111111111111111111:80",
        "[1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111]:80",
    };
    crt_addr a;
    char back[64];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int e = crt_addr_parse(good[i].text, &a);
        CHECK_EQ(e, 0);
        if (e) {
            fprintf(stderr, "  \"%s\"\n", good[i].text);
            continue;
        }
        CHECK_EQ(crt_addr_format(&a, back, sizeof back), strlen(good[i].back));
        CHECK(!strcmp(back, good[i].back));
        CHECK_EQ(crt_addr_port(&a), atoi(strrchr(good[i].text, ':') + 1));
        crt_addr again;
        CHECK_EQ(crt_addr_parse(back, &again), 0);
        CHECK_EQ(memcmp(&a, &again, sizeof a), 0);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int e = crt_addr_parse(bad[i], &a);
        if (e != CRT_EINVAL) fprintf(stderr, "  \"%s\"\n", bad[i]);
        CHECK_EQ(e, CRT_EINVAL);
    }
    CHECK_EQ(crt_addr_parse(NULL, &a), CRT_EINVAL);
}
static void formatting_never_writes_past_the_buffer(void)
{
    crt_addr a;
    char buf[64];
    CHECK_EQ(crt_addr_parse("[1:2:3:4:5:6:7:8]:65535", &a), 0);
    const char *text = "[1:2:3:4:5:6:7:8]:65535";
    for (size_t n = 0; n <= strlen(text) + 1; n++) {
        memset(buf, '#', sizeof buf);
        int r = crt_addr_format(&a, buf, n);
        CHECK_EQ(r, n > strlen(text) ? (int)strlen(text) : CRT_EINVAL);
        CHECK_EQ(buf[n], '#');
        if (n) CHECK(memchr(buf, 0, n) != NULL);
    }
}

// ---- listening and connecting -------------------------------------------------

static crt_poll meeting_run(void *frame, crt_cx *cx)
{
    static meet m;
    root *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_local_addr(self->l, &self->addr), 0);
    CHECK(crt_addr_port(&self->addr) > 0);   // port 0: a free one
    CRT_AWAIT(meet_run(&m, cx, self));
    // Both ends agree on who they are.
    CHECK_EQ(crt_peer_addr(self->a, &self->addr), 0);
    CHECK(crt_addr_format(&self->addr, self->buf, sizeof self->buf) > 0 && !strcmp(self->buf, self->text));
    CHECK_EQ(crt_local_addr(self->b, &self->addr), 0);
    CHECK(crt_addr_format(&self->addr, self->buf, sizeof self->buf) > 0 && !strcmp(self->buf, self->text));
    CHECK_EQ(crt_local_addr(self->a, &self->addr), 0);
    CHECK_EQ(memcmp(&self->addr, &self->peer, sizeof self->addr), 0);   // what accept said
    CHECK_EQ(crt_peer_addr(self->b, &self->addr), 0);
    CHECK_EQ(memcmp(&self->addr, &self->peer, sizeof self->addr), 0);
    CRT_AWAIT(self->r = crt_write_all(cx, self->a, "hello", 5));
    CRT_AWAIT(self->r = crt_read_exact(cx, self->b, self->buf, 5));
    CHECK_EQ(self->r, 5);
    CHECK_EQ(memcmp(self->buf, "hello", 5), 0);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void listen_connect_accept(crt_runtime *rt) { run_root(rt, meeting_run); }

static crt_poll six_run(void *frame, crt_cx *cx)
{
    static meet m;
    root *self = frame;
    CRT_BEGIN(self, cx);
    self->desc.v6only = true;
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "[::1]:0", &self->desc, &self->l));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(meet_run(&m, cx, self));
    CHECK(!strncmp(self->text, "[::1]:", 6));
    CHECK(crt_addr_format(&self->peer, self->buf, sizeof self->buf) > 0 && !strncmp(self->buf, "[::1]:", 6));
    CRT_AWAIT(self->r = crt_write_all(cx, self->b, "six", 3));
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 8));
    CHECK_EQ(self->r, 3);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void ipv6(crt_runtime *rt)
{
    if (has_ipv6()) run_root(rt, six_run);
    else fprintf(stderr, "no IPv6 here: skipped\n");
}

static crt_poll refused_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    text_of(self->l, self->text, sizeof self->text);
    // The address is taken, also with SO_REUSEADDR.
    CRT_AWAIT(self->r = crt_tcp_listen(cx, self->text, NULL, &self->l2));
    CHECK_EQ(self->r, -EADDRINUSE);
    CHECK(self->l2 == NULL);
    crt_close(&self->l);
    self->fds = fd_count();
    for (self->i = 0; self->i < 20; self->i++) {
        CRT_AWAIT(self->r = crt_tcp_connect(cx, self->text, &self->a));
        CHECK_EQ(self->r, -ECONNREFUSED);
        CHECK(self->a == NULL);
    }
    CHECK_EQ(fd_count(), self->fds);
    // Nonsense is told at once.
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1", NULL, &self->l));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, NULL, NULL, &self->l));
    CHECK_EQ(self->r, CRT_EINVAL);
    self->desc.backlog = -1;
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", &self->desc, &self->l));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_tcp_connect(cx, "127.0.0.1", &self->a));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_tcp_connect(cx, NULL, &self->a));
    CHECK_EQ(self->r, CRT_EINVAL);
    // An address that is not ours.
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "203.0.113.77:0", NULL, &self->l));
    CHECK_EQ(self->r, -EADDRNOTAVAIL);
    CHECK(self->l == NULL);
    CHECK_EQ(fd_count(), self->fds);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void refused_taken_and_wrong(crt_runtime *rt) { run_root(rt, refused_run); }

static crt_poll accept_late_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    // An accept that timed out or lost a select has not swallowed a connection.
    for (self->i = 0; self->i < 5; self->i++) {
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(2), crt_accept(cx, self->l, &self->b, NULL)));
        CHECK_EQ(self->r, CRT_ETIMEDOUT);
        CHECK(self->b == NULL);
        self->plain[0] = plain_connect(self->l);
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(2), crt_accept(cx, self->l, &self->b, &self->peer)));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(write(self->plain[0], "x", 1), 1);
        CRT_AWAIT(self->r = crt_read(cx, self->b, self->buf, 8));
        CHECK_EQ(self->r, 1);
        close(self->plain[0]);
        crt_close(&self->b);
    }
    // Several at once: one edge, all of them accepted.
    for (self->i = 0; self->i < 16; self->i++) self->plain[self->i] = plain_connect(self->l);
    for (self->i = 0; self->i < 16; self->i++) {
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(2), crt_accept(cx, self->l, &self->b, NULL)));
        CHECK_EQ(self->r, 0);
        crt_close(&self->b);
        close(self->plain[self->i]);
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void a_cancelled_accept_loses_no_connection(crt_runtime *rt) { run_root(rt, accept_late_run); }

// Several tasks accept from one listener: each connection reaches exactly one.
static int accepted;   // atomic
typedef struct acceptor {
    crt_frame co;
    crt_listener *l;
    crt_stream *s;
    crt_poll r;
} acceptor;
static crt_poll acceptor_run(void *frame, crt_cx *cx)
{
    acceptor *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = crt_accept(cx, self->l, &self->s, NULL));
        if (self->r < 0) CRT_RETURN(self->r);
        __atomic_fetch_add(&accepted, 1, __ATOMIC_SEQ_CST);
        CRT_AWAIT(self->r = crt_write_all(cx, self->s, "!", 1));
        crt_close(&self->s);
    }
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
typedef struct visitor {
    crt_frame co;
    const char *address;
    crt_stream *s;
    crt_poll r;
    int i;
    char buf[8];
} visitor;
static crt_poll visitor_run(void *frame, crt_cx *cx)
{
    visitor *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 50; self->i++) {
        CRT_AWAIT(self->r = crt_tcp_connect(cx, self->address, &self->s));
        CHECK_EQ(self->r, 0);
        CRT_AWAIT(self->r = crt_read_exact(cx, self->s, self->buf, 1));
        CHECK_EQ(self->r, 1);
        CRT_AWAIT(self->r = crt_read(cx, self->s, self->buf, 8));   // exactly one
        CHECK_EQ(self->r, 0);
        crt_close(&self->s);
    }
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
static crt_poll acceptors_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    accepted = 0;
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    text_of(self->l, self->text, sizeof self->text);
    for (self->i = 0; self->i < 8; self->i++) {
        if (self->i < 4) CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], acceptor_run, &(acceptor){.l = self->l}), 0);
        else CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], visitor_run, &(visitor){.address = self->text}), 0);
    }
    for (self->i = 4; self->i < 8; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], &self->result));
        CHECK_EQ(self->result, 0);
    }
    CHECK_EQ(accepted, 200);
    for (self->i = 0; self->i < 4; self->i++) crt_abort(self->join[self->i]);
    for (self->i = 0; self->i < 4; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], &self->result));
        CHECK_EQ(self->r, CRT_ECANCELED);
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void several_acceptors_share_a_listener(crt_runtime *rt) { run_root(rt, acceptors_run); }

static crt_poll options_run(void *frame, crt_cx *cx)
{
    static meet m;
    root *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    CRT_AWAIT(meet_run(&m, cx, self));
    CHECK(socket_option(self->a, IPPROTO_TCP, TCP_NODELAY));   // small writes leave at once
    CHECK(socket_option(self->b, IPPROTO_TCP, TCP_NODELAY));
    CHECK_EQ(crt_stream_set_nodelay(self->a, false), 0);
    CHECK(!socket_option(self->a, IPPROTO_TCP, TCP_NODELAY));
    CHECK(!socket_option(self->a, SOL_SOCKET, SO_KEEPALIVE));
    CHECK_EQ(crt_stream_set_keepalive(self->a, true), 0);
    CHECK(socket_option(self->a, SOL_SOCKET, SO_KEEPALIVE));
    CHECK_EQ(crt_stream_set_send_buffer(self->a, 20000), 0);
    CHECK_EQ(socket_option(self->a, SOL_SOCKET, SO_SNDBUF), DOUBLED * 20000);
    CHECK_EQ(crt_stream_set_recv_buffer(self->a, 20000), 0);
    CHECK_EQ(socket_option(self->a, SOL_SOCKET, SO_RCVBUF), DOUBLED * 20000);
    // Linger 0: the peer learns of a reset; otherwise of an end.
    CHECK_EQ(crt_stream_set_linger(self->a, 5), 0);
    CHECK_EQ(crt_stream_set_linger(self->a, -1), 0);
    CHECK_EQ(crt_stream_set_linger(self->a, 0), 0);
    crt_close(&self->a);
    CRT_AWAIT(self->r = crt_read(cx, self->b, self->buf, 8));
    CHECK_EQ(self->r, CRT_ECONNRESET);
    crt_close(&self->b);
    crt_close(&self->l);

#ifdef SO_REUSEPORT
    self->desc = (crt_listen_desc){.no_nodelay = true, .reuseport = true};
#else
    self->desc = (crt_listen_desc){.no_nodelay = true};
#endif
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", &self->desc, &self->l));
    CRT_AWAIT(meet_run(&m, cx, self));
    CHECK(!socket_option(self->b, IPPROTO_TCP, TCP_NODELAY));
    CRT_AWAIT(self->r = crt_tcp_listen(cx, self->text, &self->desc, &self->l2));   // two for one port
    CHECK_EQ(self->r, self->desc.reuseport ? 0 : -EADDRINUSE);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void options(crt_runtime *rt) { run_root(rt, options_run); }

// ---- descriptors ----------------------------------------------------------------

static crt_poll wait_fd_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_fd_readable(cx, self->n));
    CRT_END;
}
static crt_poll wait_signal_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_signal_recv(cx, SIGUSR2));
    CRT_END;
}
#ifndef _WIN32
static bool fds_before[FDS];
#endif
static intptr_t nothing(void *arg) { return arg != NULL; }
static crt_poll flags_run(void *frame, crt_cx *cx)
{
    static meet m;
    root *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    CRT_AWAIT(meet_run(&m, cx, self));
    CHECK_EQ(crt_stream_pair(cx, &self->c, &self->d), 0);
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], wait_fd_run, &(root){.n = (int)crt_stream_fd(self->c)}), 0);
    CHECK_EQ(crt_spawn_join(cx, &self->join[1], wait_signal_run, &(root){.n = 0}), 0);
    CHECK_EQ(crt_spawn_blocking(cx, &self->join[2], nothing, NULL), 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->join[2], NULL));
    CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
#ifdef _WIN32
    CHECK_EQ(test_inherited_count(), self->n);
#else
    {
        bool now[FDS];
        int sockets = 0, others = 0;
        fd_list(now);
        for (int fd = 0; fd < FDS; fd++) {
            if (!now[fd] || fds_before[fd]) continue;
            int flags = fcntl(fd, F_GETFD), status = fcntl(fd, F_GETFL), type;
            socklen_t n = sizeof type;
            bool socket = !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n);
            if (!(flags & FD_CLOEXEC)) {
                char path[64], name[64] = "";
                snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
                if (readlink(path, name, sizeof name - 1) > 0) fprintf(stderr, "  descriptor %d: %s\n", fd, name);
            }
            CHECK(flags & FD_CLOEXEC);
            if (socket) CHECK(status & O_NONBLOCK);
            sockets += socket;
            others += !socket;
        }
        CHECK(sockets >= 6);   // listener, two TCP, two Unix, the duplicate
        CHECK(others >= 3);    // epoll, its eventfd, the signal pipe
    }
#endif
    crt_abort(self->join[0]);
    crt_abort(self->join[1]);
    CRT_AWAIT(self->r = crt_join(cx, &self->join[0], NULL));
    CRT_AWAIT(self->r = crt_join(cx, &self->join[1], NULL));
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void every_descriptor_is_close_on_exec_and_non_blocking(void)
{
    crt_runtime *rt;
    root *r;
    for (int i = 0; i < 2; i++) {
        crt_config c = {.flavor = i, .worker_threads = i ? 1 : 2};
        r = calloc(1, sizeof *r);
#ifdef _WIN32
        int fds = fd_count();
        r->n = test_inherited_count();
#else
        int fds = fd_list(fds_before);
#endif
        CHECK_EQ(crt_runtime_new(&c, &rt), 0);
        CHECK_EQ(crt_block_on(rt, flags_run, r), 0);
        crt_runtime_drop(&rt);
        free(r);
        // The signal pipe of the process stays for the next runtime: at most two.
        CHECK(fd_count() - fds <= (i ? 0 : 2));
    }
}

static crt_poll sigpipe_run(void *frame, crt_cx *cx)
{
    static meet m;
    root *self = frame;
    CRT_BEGIN(self, cx);
    // Whoever writes to a peer that has gone gets an error, and lives.
    CHECK_EQ(crt_stream_pair(cx, &self->c, &self->d), 0);
    crt_close(&self->d);
#ifndef _WIN32   // where a pair is TCP, as the next one
    CRT_AWAIT(self->r = crt_write(cx, self->c, "x", 1));
    CHECK_EQ(self->r, -EPIPE);
    CHECK_EQ(crt_try_write(self->c, "x", 1), -EPIPE);
    CRT_AWAIT(self->r = crt_write_all(cx, self->c, "x", 1));
    CHECK_EQ(self->r, -EPIPE);
#endif
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    CRT_AWAIT(meet_run(&m, cx, self));
    crt_close(&self->b);
    for (self->i = 0; self->i < 100; self->i++) {
        CRT_AWAIT(self->r = crt_write(cx, self->a, "x", 1));
        if (self->r < 0) break;
        CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    }
    CHECK(self->r == -EPIPE || self->r == CRT_ECONNRESET);
    CRT_AWAIT(self->r = crt_write(cx, self->a, "x", 1));
    CHECK(self->r == -EPIPE || (WINDOWS && self->r == CRT_ECONNRESET));
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void writing_to_a_closed_peer_raises_no_signal(crt_runtime *rt)
{
#ifdef _WIN32
    run_root(rt, sigpipe_run);
#else
    struct sigaction was;
    signal(SIGPIPE, SIG_DFL);   // whatever started us
    sigaction(SIGPIPE, NULL, &was);
    CHECK(was.sa_handler == SIG_DFL);
    run_root(rt, sigpipe_run);
    sigaction(SIGPIPE, NULL, &was);
    CHECK(was.sa_handler == SIG_DFL);   // and nothing was changed for the others
#endif
}

// ---- out of descriptors ------------------------------------------------------------

// The limit is lowered to what is open: accept gives EMFILE. The acceptor must neither
// spin nor give up, and go on when there are descriptors again.
#ifdef _WIN32   // there is no limit to lower: these fail by themselves
enum { RLIMIT_NOFILE };
struct rlimit { int rlim_cur, rlim_max; };
static int getrlimit(int what, struct rlimit *r)
{
    *r = (struct rlimit){0, 0};
    return what;
}
static int setrlimit(int what, const struct rlimit *r)
{
    fault_always(FAULT_ACCEPT, r->rlim_cur ? EMFILE : 0);
    fault_always(FAULT_SOCKET, r->rlim_cur ? EMFILE : 0);
    return what;
}
#define rlim_t int
#undef close
#define close(fd) ((fd) == LOWEST ? 0 : test__win_close((int)(fd)))
enum { LOWEST = 1 << 30 };
#define dup(fd) LOWEST
#endif
static crt_poll emfile_run(void *frame, crt_cx *cx)
{
    static struct rlimit limit;
    root *self = frame;
    CRT_BEGIN(self, cx);
    accepted = 0;
    fault_count();
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    for (self->i = 0; self->i < 8; self->i++) self->plain[self->i] = plain_connect(self->l);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    {
        int fd = dup(0);   // the lowest free one
        close(fd);
        struct rlimit low = {(rlim_t)fd, limit.rlim_max};
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
    }
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], acceptor_run, &(acceptor){.l = self->l}), 0);
    self->cpu = cpu_seconds();
    CRT_AWAIT(crt_sleep(cx, CRT_MS(200)));
    CHECK_EQ(__atomic_load_n(&accepted, __ATOMIC_SEQ_CST), 0);
    CHECK(!crt_is_finished(self->join[0]));
    // After 0, 10, 30, 70, 150 ms.
    CHECK(fault_calls(FAULT_ACCEPT) >= 2);
    CHECK(fault_calls(FAULT_ACCEPT) <= 6);
    CHECK(cpu_seconds() - self->cpu < 0.05);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    // All of them were waiting in the queue; no new edge tells of them.
    for (self->i = 0; __atomic_load_n(&accepted, __ATOMIC_SEQ_CST) < 8 && self->i < 2000; self->i++) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CHECK_EQ(__atomic_load_n(&accepted, __ATOMIC_SEQ_CST), 8);
    for (self->i = 0; self->i < 8; self->i++) {
        CHECK_EQ(read(self->plain[self->i], self->buf, 8), 1);
        close(self->plain[self->i]);
    }
    crt_abort(self->join[0]);
    CRT_AWAIT(self->r = crt_join(cx, &self->join[0], NULL));
    CHECK_EQ(self->r, CRT_ECANCELED);
    CRT_FINALLY
        setrlimit(RLIMIT_NOFILE, &limit);
        close_all(self);
    CRT_END;
}
static void accept_waits_for_descriptors_without_spinning(crt_runtime *rt)
{
    test_log_clear();
    run_root(rt, emfile_run);
    CHECK(test_log_has(strerror(EMFILE)));
    CHECK(test_log_has("ulimit -n"));
    // One line, not one for each attempt.
    const char *first = strstr(test_log_text, "ulimit -n");
    CHECK(first && !strstr(first + 1, "ulimit -n"));
}

static crt_poll emfile_cancel_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    accepted = 0;
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    fault_always(FAULT_ACCEPT, ENFILE);
    self->since = crt_now(cx);
    // Cancelled while it pauses: by a time-out, by an abort.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_accept(cx, self->l, &self->a, NULL)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], acceptor_run, &(acceptor){.l = self->l}), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(2)));
    crt_abort(self->join[0]);
    CRT_AWAIT(self->r = crt_join(cx, &self->join[0], NULL));
    CHECK_EQ(self->r, CRT_ECANCELED);
    CHECK(crt_now(cx) - self->since < CRT_SEC(1));   // nobody sat a pause out
    fault_always(FAULT_ACCEPT, 0);
    self->plain[0] = plain_connect(self->l);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(2), crt_accept(cx, self->l, &self->a, NULL)));
    CHECK_EQ(self->r, 0);
    close(self->plain[0]);
    // Failures that concern one connection are passed over; others are reported.
    fault_always(FAULT_ACCEPT, EPERM);
    CRT_AWAIT(self->r = crt_accept(cx, self->l, &self->b, NULL));
    if (self->r == CRT_PENDING) CHECK(!"pending");
    CHECK(self->r == -EPERM);
    CRT_FINALLY
        fault_always(FAULT_ACCEPT, 0);
        close_all(self);
    CRT_END;
}
static void a_pausing_accept_can_be_cancelled(crt_runtime *rt)
{
    run_root(rt, emfile_cancel_run);
}

static crt_poll nofile_run(void *frame, crt_cx *cx)
{
    static struct rlimit limit;
    root *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    text_of(self->l, self->text, sizeof self->text);
    self->fds = fd_count();
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    {
        int fd = dup(0);
        close(fd);
        struct rlimit low = {(rlim_t)fd, limit.rlim_max};
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
    }
    CRT_AWAIT(self->r = crt_tcp_connect(cx, self->text, &self->a));
    CHECK_EQ(self->r, -EMFILE);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l2));
    CHECK_EQ(self->r, -EMFILE);
#ifndef _WIN32   // faults do not reach these two
    CHECK_EQ(crt_stream_pair(cx, &self->c, &self->d), -EMFILE);
    CRT_AWAIT(self->r = crt_fd_readable(cx, 0));
    CHECK_EQ(self->r, -EMFILE);
#endif
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    // A descriptor that the reactor refuses is closed again.
    fault_always(FAULT_ADD, ENOSPC);
    CRT_AWAIT(self->r = crt_tcp_connect(cx, self->text, &self->a));
    CHECK_EQ(self->r, -ENOSPC);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l2));
    CHECK_EQ(self->r, -ENOSPC);
    CHECK_EQ(crt_stream_pair(cx, &self->c, &self->d), -ENOSPC);
    CRT_AWAIT(self->r = crt_fd_readable(cx, crt_listener_fd(self->l)));
    CHECK_EQ(self->r, -ENOSPC);
    self->plain[0] = plain_connect(self->l);
    do {   // the failed connect above is in the queue too
        CRT_AWAIT(self->r = crt_accept(cx, self->l, &self->a, NULL));
        CHECK_EQ(self->r, -ENOSPC);
        CHECK(self->a == NULL);
    } while (++self->i < 2);
    close(self->plain[0]);
    fault_always(FAULT_ADD, 0);
    CHECK(!self->a && !self->l2 && !self->c && !self->d);
    CHECK_EQ(fd_count(), self->fds);
    CRT_FINALLY
        fault_always(FAULT_ADD, 0);
        setrlimit(RLIMIT_NOFILE, &limit);
        close_all(self);
    CRT_END;
}
static void failures_of_the_system_leave_nothing_open(crt_runtime *rt) { run_root(rt, nofile_run); }

// ---- without a driver, after the runtime --------------------------------------------

static crt_poll nodriver_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    test_log_clear();
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    CHECK(test_log_has("crt_tcp_listen") && test_log_has("CRT_DRIVER_IO"));
    test_log_clear();
    CRT_AWAIT(self->r = crt_tcp_connect(cx, "127.0.0.1:1", &self->a));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    CHECK(test_log_has("crt_tcp_connect") && test_log_has("CRT_DRIVER_IO"));
    test_log_clear();
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), CRT_ENODRIVER);
    CHECK(test_log_has("CRT_DRIVER_IO"));
    test_log_clear();
    CRT_AWAIT(self->r = crt_fd_readable(cx, 0));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    CHECK(test_log_has("CRT_DRIVER_IO"));
    CRT_AWAIT(self->r = crt_fd_writable(cx, 1));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    CHECK(!self->l && !self->a && !self->b);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));   // the other driver is there
    CRT_END;
}
static void without_the_driver(crt_runtime *rt)
{
    int fds = fd_count();
    run_root(rt, nodriver_run);
    CHECK_EQ(fd_count(), fds);
}

// Streams that outlive their runtime.
static crt_stream *left_a, *left_b;
static crt_listener *left_l;
static crt_poll leave_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &left_l));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_stream_pair(cx, &left_a, &left_b), 0);
    CHECK_EQ(crt_try_write(left_a, "abc", 3), 3);
    CRT_END;
}
static crt_poll left_run(void *frame, crt_cx *cx)   // on another runtime
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 8; self->i++) {
        CRT_AWAIT(self->r = self->i == 0 ? crt_read(cx, left_a, self->buf, 8)
            : self->i == 1 ? crt_write(cx, left_a, self->buf, 8)
            : self->i == 2 ? crt_read_exact(cx, left_b, self->buf, 3)
            : self->i == 3 ? crt_write_all(cx, left_a, self->buf, 8)
            : self->i == 4 ? crt_readable(cx, left_b)
            : self->i == 5 ? crt_writable(cx, left_a)
            : self->i == 6 ? crt_accept(cx, left_l, &self->a, NULL)
            : crt_accept(cx, left_l, &self->a, &self->peer));
        CHECK_EQ(self->r, CRT_ESHUTDOWN);
    }
    CRT_END;
}
static void streams_after_the_shutdown(void)
{
    for (int i = 0; i < 4; i++) {
        crt_config c = {.flavor = i % 2, .worker_threads = i % 2 ? 1 : 2};
        crt_runtime *rt, *other;
        root r = {0};
        char buf[8];
        int fds = fd_count();
        CHECK_EQ(crt_runtime_new(&c, &rt), 0);
        CHECK_EQ(crt_block_on(rt, leave_run, &r), 0);
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_SEC(1)), 0);
        CHECK_EQ(crt_try_read(left_b, buf, 8), CRT_ESHUTDOWN);
        CHECK_EQ(crt_try_write(left_b, buf, 8), CRT_ESHUTDOWN);
        crt_addr a;
        CHECK_EQ(crt_local_addr(left_l, &a), 0);
        if (i >= 2) crt_runtime_drop(&rt);   // before the streams
        c.flavor = !c.flavor;
        c.worker_threads = 1;
        CHECK_EQ(crt_runtime_new(&c, &other), 0);
        CHECK_EQ(crt_block_on(other, left_run, &r), 0);   // an error, not a hang
        crt_runtime_drop(&other);
        CHECK_EQ(crt_try_read(left_b, buf, 8), CRT_ESHUTDOWN);
        crt_close(&left_a);
        crt_close(&left_l);
        if (i < 2) crt_runtime_drop(&rt);
        crt_close(&left_b);   // the last thing that knew the runtime
        CHECK(!left_a && !left_b && !left_l);
        CHECK_EQ(fd_count(), fds);
    }
}

// A task of another runtime is parked on a stream whose runtime shuts down.
static int parked_result;
static crt_poll parked_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_read(cx, left_a, self->buf, 8));
    parked_result = (int)self->r;
    CRT_END;
}
static void *parked_main(void *rt)
{
    root r = {0};
    CHECK_EQ(crt_block_on(rt, parked_run, &r), 0);
    return NULL;
}
static void shutdown_wakes_foreign_tasks(void)
{
    crt_config c = {.worker_threads = 1}, o = {.flavor = CRT_CURRENT_THREAD};
    crt_runtime *rt, *other;
    pthread_t thread;
    root r = {0};
    int fds = fd_count();
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    CHECK_EQ(crt_runtime_new(&o, &other), 0);
    CHECK_EQ(crt_block_on(rt, leave_run, &r), 0);
    char buf[8];
    CHECK_EQ(crt_try_read(left_b, buf, 8), 3);
    parked_result = 0;
    pthread_create(&thread, NULL, parked_main, other);
    for (bool parked = false; !parked; test_pause_us(500)) {
        crt__sock *s = (crt__sock *)left_a;
        crt__sock_lock(s);
        parked = s->waiters != NULL;
        crt__sock_unlock(s);
    }
    crt_runtime_drop(&rt);
    pthread_join(thread, NULL);
    CHECK_EQ(parked_result, CRT_ESHUTDOWN);
    crt_close(&left_a);
    crt_close(&left_b);
    crt_close(&left_l);
    crt_runtime_drop(&other);
    CHECK_EQ(fd_count(), fds);
}

// Tasks that are parked on descriptors when their runtime goes.
typedef struct sitter {
    crt_frame co;
    crt_stream *s;
    crt_listener *l;
    crt_stream *made;
    crt_poll r;
    char buf[8];
} sitter;
static int cleaned;   // atomic
static crt_poll sitter_run(void *frame, crt_cx *cx)
{
    sitter *self = frame;
    CRT_BEGIN(self, cx);
    if (self->s) CRT_AWAIT(self->r = crt_read(cx, self->s, self->buf, 8));
    else CRT_AWAIT(self->r = crt_accept(cx, self->l, &self->made, NULL));
    CRT_FINALLY
        crt_close(&self->s);
        crt_close(&self->l);
        crt_close(&self->made);
        __atomic_fetch_add(&cleaned, 1, __ATOMIC_SEQ_CST);
    CRT_END;
}
static crt_poll sitters_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 100; self->i++) {
        CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
        CHECK_EQ(crt_spawn(cx, sitter_run, &(sitter){.s = self->a}), 0);
        CHECK_EQ(crt_spawn(cx, sitter_run, &(sitter){.s = self->b}), 0);
        self->a = self->b = NULL;
    }
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    CHECK_EQ(crt_spawn(cx, sitter_run, &(sitter){.l = self->l}), 0);
    self->l = NULL;
    CRT_AWAIT(crt_sleep(cx, CRT_MS(self->k)));
    CRT_END;
}
static void shutdown_closes_what_tasks_hold(void)
{
    for (int i = 0; i < 6; i++) {
        crt_config c = {.flavor = i % 2, .worker_threads = i % 2 ? 1 : 4};
        crt_runtime *rt;
        root *r = calloc(1, sizeof *r);
        int fds = fd_count();
        r->k = i / 2;   // at once: some have not been polled yet
        cleaned = 0;
        CHECK_EQ(crt_runtime_new(&c, &rt), 0);
        CHECK_EQ(crt_block_on(rt, sitters_run, r), 0);
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_SEC(5)), 0);
        CHECK_EQ(cleaned, 201);
        crt_runtime_drop(&rt);
        CHECK_EQ(fd_count(), fds);
        free(r);
    }
}

// ---- churn ---------------------------------------------------------------------------

static crt_poll churn_run(void *frame, crt_cx *cx)
{
    static meet m;
    root *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    self->fds = fd_count();
    for (self->i = 0; self->i < 500; self->i++) {
        CRT_AWAIT(meet_run(&m, cx, self));
        CRT_AWAIT(self->r = crt_write_all(cx, self->a, &self->i, sizeof self->i));
        CRT_AWAIT(self->r = crt_read_exact(cx, self->b, self->buf, sizeof self->i));
        CHECK_EQ(memcmp(self->buf, &self->i, sizeof self->i), 0);
        crt_close(&self->a);
        CRT_AWAIT(self->r = crt_read(cx, self->b, self->buf, 8));
        CHECK_EQ(self->r, 0);
        crt_close(&self->b);
    }
    CHECK_EQ(fd_count(), self->fds);
    {
        crt_runtime_metrics metrics;
        CHECK_EQ(crt_metrics(cx->rt, &metrics), 0);
        CHECK_EQ(metrics.io_driver_fd_registered_count, 1001);
        CHECK_EQ(metrics.io_driver_fd_deregistered_count, 1000);
        CHECK(metrics.io_driver_ready_count > 500);
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void connections_come_and_go(crt_runtime *rt) { run_root(rt, churn_run); }

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST(addresses_are_parsed_strictly);
    TEST(formatting_never_writes_past_the_buffer);
    TEST(every_descriptor_is_close_on_exec_and_non_blocking);
    TEST_ON_EACH(listen_connect_accept);
    TEST_ON_EACH(ipv6);
    TEST_ON_EACH(refused_taken_and_wrong);
    TEST_ON_EACH(a_cancelled_accept_loses_no_connection);
    TEST_ON_EACH(several_acceptors_share_a_listener);
    TEST_ON_EACH(options);
    TEST_ON_EACH(writing_to_a_closed_peer_raises_no_signal);
    TEST_ON_EACH_WITH(accept_waits_for_descriptors_without_spinning, .log = {.func = test_log});
    TEST_ON_EACH_WITH(a_pausing_accept_can_be_cancelled, .log = {.func = test_log});
    TEST_ON_EACH(failures_of_the_system_leave_nothing_open);
    TEST_ON_EACH_WITH(without_the_driver, .drivers = CRT_DRIVER_TIME, .log = {.func = test_log});
    TEST(streams_after_the_shutdown);
    TEST(shutdown_wakes_foreign_tasks);
    TEST(shutdown_closes_what_tasks_hold);
    TEST_ON_EACH(connections_come_and_go);
    return test_end();
}
