// Socket options, vectored I/O, pipes, foreign descriptors, datagrams, racing connects,
// lookups behind their gate. Loopback and a directory of its own under /tmp only.
#include <netdb.h>
// Names are answered here: see fake_answer.
static int test_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **list);
static void test_freeaddrinfo(struct addrinfo *list);
#include <errno.h>
static int no_threads;   // no thread can be started
#ifdef _WIN32
#include <process.h>
static uintptr_t test_beginthreadex(void *sd, unsigned stack, unsigned(__stdcall *f)(void *), void *arg, unsigned flags, unsigned *id)
{
    return no_threads ? (errno = EAGAIN, 0) : _beginthreadex(sd, stack, f, arg, flags, id);
}
#define _beginthreadex test_beginthreadex
#else
#include <pthread.h>
static int test_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *arg)
{
    return no_threads ? EAGAIN : pthread_create(t, a, f, arg);
}
#define pthread_create test_pthread_create
// Who listens at `hasty` has answered and closed before connect returns, with that error. On
// the BSDs, and otherwise on macOS, who has closed has no name any more. With `breaks` the
// connection does so while its name is asked for.
#include <sys/socket.h>
#include <unistd.h>
static int hasty = -1, hasty_error, nameless, unheard = -1, breaks;
static int test_connect(int fd, const struct sockaddr *a, socklen_t n)
{
    int r = connect(fd, a, n), peer;
    if (r || hasty < 0) return r;
    peer = accept(hasty, NULL, NULL);
    if (breaks) unheard = peer;
    else if (peer < 0 || write(peer, "hello", 5) != 5 || close(peer)) return -1;
    errno = hasty_error;
    return hasty_error ? -1 : 0;
}
static int test_getpeername(int fd, struct sockaddr *a, socklen_t *n)
{
    if (unheard >= 0) {   // with a byte that nobody has read it is a reset
        if (send(fd, "x", 1, 0) != 1) return -1;
        close(unheard);
        unheard = -1;
    }
    return nameless ? (errno = nameless, -1) : getpeername(fd, a, n);
}
#define connect(...) test_connect(__VA_ARGS__)
#define getpeername test_getpeername
#endif
#define getaddrinfo test_getaddrinfo
#define freeaddrinfo test_freeaddrinfo
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

#ifdef __linux__
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#endif
#include <sys/resource.h>
#include <sys/wait.h>

#if defined(__linux__) || defined(KQUEUE_SHIM_BSD_H)   // the shim is Linux under another name
enum { DOUBLED = 2 };   // the size of a buffer, as it is told
#else
enum { DOUBLED = 1 };
#endif
#ifdef _WIN32
#define LOOPBACK "loopback_0"
#else
#define LOOPBACK "lo"
#endif

#if defined(CRT_PLATFORM_KQUEUE_H) && !defined(EVFILT_EXCEPT)
enum { HAS_PRIORITY = 0 };   // FreeBSD, NetBSD
#else
enum { HAS_PRIORITY = 1 };
#endif

// ---- tools -----------------------------------------------------------------

static char dir[120];   // the directory of this run
#define fd_count test_fd_count

// What test_getaddrinfo says: "many" has the addresses in fake_list; "slow" comes only
// when it is let go; anything else does not exist.
static crt_addr fake_list[20];
static int fake_count;
static int slow_now, slow_most, slow_begun, slow_release;   // atomic
static struct addrinfo *fake_answer(const crt_addr *a)
{
    struct addrinfo *i = calloc(1, sizeof *i + sizeof *a);
    crt_addr *copy = (crt_addr *)(void *)(i + 1);
    *copy = *a;
    i->ai_addr = (struct sockaddr *)(void *)copy->u.bytes;
    i->ai_addrlen = a->len;
    return i;
}
static int test_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **list)
{
    crt_addr one;
    (void)hints;
    (void)port;
    *list = NULL;
    if (!strcmp(host, "slow")) {
        int now = __atomic_add_fetch(&slow_now, 1, __ATOMIC_SEQ_CST), most = __atomic_load_n(&slow_most, __ATOMIC_SEQ_CST);
        while (now > most && !__atomic_compare_exchange_n(&slow_most, &most, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {}
        __atomic_add_fetch(&slow_begun, 1, __ATOMIC_SEQ_CST);
        while (!__atomic_load_n(&slow_release, __ATOMIC_SEQ_CST)) test_pause_us(200);
        __atomic_sub_fetch(&slow_now, 1, __ATOMIC_SEQ_CST);
        crt_addr_parse("127.0.0.1:1", &one);
        *list = fake_answer(&one);
        return 0;
    }
    if (strcmp(host, "many")) return EAI_NONAME;
    for (int i = fake_count - 1; i >= 0; i--) {
        struct addrinfo *first = fake_answer(&fake_list[i]);
        first->ai_next = *list;
        *list = first;
    }
    return fake_count ? 0 : EAI_NONAME;
}
static void test_freeaddrinfo(struct addrinfo *list)
{
    while (list) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

typedef struct root {
    crt_frame co;
    crt_listener *l, *l2;
    crt_stream *a, *b, *c, *d;
    crt_udp *u, *v, *w;
    crt_join_handle *join[16];
    CRT_SELECT(2) both;
    crt_timer timer;
    crt_listen_desc listen;
    crt_connect_desc connect;
    crt_udp_desc udp;
    crt_keepalive keep;
    crt_addr addr, peer, list[4];
    crt_iovec piece[100], back[3];
    crt_udp_msg msg[80];
    crt_instant since;
    crt_semaphore limit;
    intptr_t result;
    crt_poll r, x, y;
    size_t n;
    int i, k, fd, fd2, value, plain[64];
    char text[160], buf[256], bufs[80][16];
    unsigned char *big, *big2;
} root;
static void close_all(root *self)
{
    crt_close(&self->a);
    crt_close(&self->b);
    crt_close(&self->c);
    crt_close(&self->d);
    crt_close(&self->l);
    crt_close(&self->l2);
    crt_close(&self->u);
    crt_close(&self->v);
    crt_close(&self->w);
    for (int i = 0; i < 16; i++) crt_detach(&self->join[i]);
}
static void run_root(crt_runtime *rt, crt_fn fn)
{
    root *r = calloc(1, sizeof *r);
    int fds = fd_count();
    CHECK_EQ(crt_block_on(rt, fn, r), 0);
    CHECK(fd_count() <= fds);   // less: what the test before had left to its threads
    free(r);
}
static void text_of(crt_listener *l, char *text, size_t n)
{
    crt_addr a;
    CHECK_EQ(crt_local_addr(l, &a), 0);
    CHECK(crt_addr_format(&a, text, n) > 0);
}
// Connects self->a to self->b through self->l, as self->connect says.
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
        crt_on(cx, 0, self->a = crt_tcp_connect_ex(cx, r->text, &r->connect, &r->a)),
        crt_on(cx, 1, self->b = crt_accept(cx, r->l, &r->b, &r->peer))));
    CHECK_EQ(self->a, 0);
    CHECK_EQ(self->b, 0);
    CRT_END;
}
#define MEET(self, cx) do { static meet m; CRT_AWAIT((self)->r = meet_run(&m, cx, self)); } while (0)
#define LISTEN(self, cx, address, desc, out)                                               \
    do {                                                                                   \
        CRT_AWAIT((self)->r = crt_tcp_listen(cx, address, desc, out));                     \
        CHECK_EQ((self)->r, 0);                                                            \
    } while (0)

// ---- options ---------------------------------------------------------------

#ifndef WINE
#ifdef __OpenBSD__   // has the times of keepalive for the whole system only: they read as 0
static const crt_keepalive times = {true, 0, 0, 0}, later = {true, 0, 0, 0};
#else
static const crt_keepalive times = {true, 11, 12, 13}, later = {true, 0, 21, 0};
#endif
static bool keeps(const crt_keepalive *k, bool on, int interval)
{
    return k->on == on && k->idle == times.idle && k->interval == interval && k->count == times.count;
}
#endif
static crt_poll stream_options_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    self->listen = (crt_listen_desc){.recv_buffer = 20000, .send_buffer = 30000, .ttl = 33, .backlog = 7};
    LISTEN(self, cx, "127.0.0.1:0", &self->listen, &self->l);
    self->connect = (crt_connect_desc){.local = "127.0.0.2:0", .recv_buffer = 40000, .send_buffer = 50000, .ttl = 44,
        .tos = 16, .linger_on = true, .linger = 3, .no_nodelay = true};
#ifndef WINE
    self->connect.keepalive = times;
#endif
    MEET(self, cx);
    // The side that connected: as its desc says.
    CHECK_EQ(crt_stream_get_nodelay(self->a), 0);
    CHECK_EQ(crt_stream_get_recv_buffer(self->a), DOUBLED * 40000);
    CHECK_EQ(crt_stream_get_send_buffer(self->a), DOUBLED * 50000);
    CHECK_EQ(crt_stream_get_ttl(self->a), 44);
    CHECK_EQ(crt_stream_get_tos(self->a), 16);
    CHECK_EQ(crt_stream_get_linger(self->a, &self->value), 0);
    CHECK_EQ(self->value, 3);
#ifndef WINE
    CHECK_EQ(crt_stream_get_keepalive(self->a, &self->keep), 0);
    CHECK(keeps(&self->keep, true, times.interval));
#endif
    CHECK(crt_addr_format(&self->peer, self->buf, sizeof self->buf) > 0 && !strncmp(self->buf, "127.0.0.2:", 10));
    CHECK_EQ(crt_local_addr(self->a, &self->addr), 0);
    CHECK(crt_addr_equal(&self->addr, &self->peer));
    CHECK_EQ(crt_peer_addr(self->a, &self->addr), 0);
    CHECK_EQ(crt_local_addr(self->l, &self->peer), 0);
    CHECK(crt_addr_equal(&self->addr, &self->peer));
    // The side that was accepted inherits from the listener.
    CHECK_EQ(crt_stream_get_nodelay(self->b), 1);
    CHECK_EQ(crt_stream_get_recv_buffer(self->b), DOUBLED * 20000);
    CHECK_EQ(crt_stream_get_send_buffer(self->b), DOUBLED * 30000);
    CHECK_EQ(crt_stream_get_ttl(self->b), 33);
    CHECK_EQ(crt_stream_get_linger(self->b, &self->value), 0);
    CHECK_EQ(self->value, -1);
#ifndef WINE
    CHECK_EQ(crt_stream_get_keepalive(self->b, &self->keep), 0);
    CHECK(!self->keep.on && !self->keep.idle == !times.idle && !self->keep.interval == !times.interval);
#endif
    // Each setter, and what it refuses.
    CHECK_EQ(crt_stream_set_nodelay(self->a, true), 0);
    CHECK_EQ(crt_stream_get_nodelay(self->a), 1);
    CHECK_EQ(crt_stream_set_keepalive(self->a, false), 0);
#ifndef WINE
    CHECK_EQ(crt_stream_get_keepalive(self->a, &self->keep), 0);
    CHECK(keeps(&self->keep, false, times.interval));
#ifdef __OpenBSD__
    CHECK_EQ(crt_stream_set_keepalive_ex(self->a, &(crt_keepalive){true, 0, 21, 0}), -ENOPROTOOPT);
#endif
    CHECK_EQ(crt_stream_set_keepalive_ex(self->a, &later), 0);
    CHECK_EQ(crt_stream_get_keepalive(self->a, &self->keep), 0);
    CHECK(keeps(&self->keep, true, later.interval));
#else
    CHECK_EQ(crt_stream_set_keepalive_ex(self->a, &(crt_keepalive){true, 0, 21, 0}), -ENOPROTOOPT);
#endif
    CHECK_EQ(crt_stream_set_keepalive_ex(self->a, &(crt_keepalive){true, -1, 0, 0}), CRT_EINVAL);
    CHECK_EQ(crt_stream_set_keepalive_ex(self->a, NULL), CRT_EINVAL);
    CHECK_EQ(crt_stream_set_linger(self->a, 1000), 0);
    CHECK_EQ(crt_stream_get_linger(self->a, &self->value), 0);
    CHECK(self->value >= 327 && self->value <= 1000);   // macOS can no more
    CHECK_EQ(crt_stream_set_linger(self->a, -1), 0);
    CHECK_EQ(crt_stream_get_linger(self->a, &self->value), 0);
    CHECK_EQ(self->value, -1);
    CHECK_EQ(crt_stream_set_recv_buffer(self->a, 10000), 0);
    CHECK_EQ(crt_stream_get_recv_buffer(self->a), DOUBLED * 10000);
    CHECK_EQ(crt_stream_set_send_buffer(self->a, 12000), 0);
    CHECK_EQ(crt_stream_get_send_buffer(self->a), DOUBLED * 12000);
    CHECK_EQ(crt_stream_set_send_buffer(self->a, 0), CRT_EINVAL);
    CHECK_EQ(crt_stream_set_recv_buffer(self->a, -5), CRT_EINVAL);
    CHECK_EQ(crt_stream_set_ttl(self->a, 255), 0);
    CHECK_EQ(crt_stream_get_ttl(self->a), 255);
    CHECK_EQ(crt_stream_set_ttl(self->a, 0), CRT_EINVAL);
    CHECK_EQ(crt_stream_set_ttl(self->a, 256), CRT_EINVAL);
    CHECK_EQ(crt_stream_set_tos(self->a, 8), 0);
    CHECK_EQ(crt_stream_get_tos(self->a), 8);
    CHECK_EQ(crt_stream_set_tos(self->a, 256), CRT_EINVAL);
#ifdef TCP_QUICKACK
    CHECK_EQ(crt_stream_set_quickack(self->a, false), 0);
    CHECK_EQ(crt_stream_get_quickack(self->a), 0);
    CHECK_EQ(crt_stream_set_quickack(self->a, true), 0);
    CHECK_EQ(crt_stream_get_quickack(self->a), 1);
#else
    CHECK_EQ(crt_stream_set_quickack(self->a, true), -ENOPROTOOPT);
    CHECK_EQ(crt_stream_get_quickack(self->a), -ENOPROTOOPT);
#endif
#ifdef __linux__   // what the system refuses
    CHECK_EQ(crt_stream_set_keepalive_ex(self->a, &(crt_keepalive){true, 40000, 5, 5}), -EINVAL);
    CHECK_EQ(crt_stream_set_keepalive_ex(self->a, &(crt_keepalive){true, 5, 40000, 5}), -EINVAL);
    CHECK_EQ(crt_pipe(cx, &self->c, &self->d), 0);
    CHECK_EQ(crt_stream_set_linger(self->c, 1), -ENOTSOCK);
    CHECK_EQ(crt_stream_get_linger(self->c, &self->value), -ENOTSOCK);
    CHECK_EQ(self->value, -1);
    crt_close(&self->c);
    crt_close(&self->d);
#endif
    // Linger 0: the peer is told by a reset; the error can be taken, once.
    CHECK_EQ(crt_stream_take_error(self->b), 0);
    CHECK_EQ(crt_stream_set_linger(self->a, 0), 0);
    crt_close(&self->a);
    CRT_AWAIT(self->r = crt_readable(cx, self->b));
    CHECK_EQ(self->r, 0);
#ifdef _WIN32   // that error is of connects there
    CRT_AWAIT(self->r = crt_read(cx, self->b, self->buf, 9));
    CHECK_EQ(self->r, CRT_ECONNRESET);
#else
    CHECK_EQ(crt_stream_take_error(self->b), CRT_ECONNRESET);
#endif
    CHECK_EQ(crt_stream_take_error(self->b), 0);
    // Nothing there to ask.
    CHECK_EQ(crt_stream_fd(NULL), CRT_EINVAL);
    CHECK_EQ(crt_stream_set_nodelay(NULL, true), CRT_EINVAL);
    CHECK_EQ(crt_stream_get_ttl(NULL), CRT_EINVAL);
    CHECK_EQ(crt_stream_set_ttl(NULL, 3), CRT_EINVAL);
    CHECK_EQ(crt_stream_get_linger(NULL, &self->value), CRT_EINVAL);
    CHECK_EQ(crt_stream_set_linger(NULL, 3), CRT_EINVAL);
    CHECK_EQ(crt_stream_take_error(NULL), CRT_EINVAL);
    CHECK_EQ(crt_stream_peer_addr(NULL, &self->addr), CRT_EINVAL);
    CHECK_EQ(crt_listener_set_backlog(NULL, 5), CRT_EINVAL);
    CHECK_EQ(crt_listener_fd(NULL), CRT_EINVAL);
    CHECK_EQ(crt_stream_pair(cx, &self->c, &self->d), 0);
#ifndef _WIN32   // there, a pair is TCP
    // A Unix stream has no such options.
    CHECK_EQ(crt_stream_set_ttl(self->c, 9), -EOPNOTSUPP);
    CHECK_EQ(crt_stream_get_tos(self->c), -EOPNOTSUPP);
    CHECK(crt_stream_set_nodelay(self->c, true) < 0);
#endif
    CHECK_EQ(crt_stream_set_send_buffer(self->c, 12000), 0);
    CHECK_EQ(crt_stream_get_send_buffer(self->c), DOUBLED * 12000);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void stream_options(crt_runtime *rt) { run_root(rt, stream_options_run); }

static crt_poll listener_options_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
#ifdef SO_REUSEPORT
    self->listen.reuseport = true;
#else
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", &((crt_listen_desc){.reuseport = true}), &self->l));
    CHECK_EQ(self->r, -ENOPROTOOPT);
#endif
    self->listen.ttl = 9;
    LISTEN(self, cx, "127.0.0.1:0", &self->listen, &self->l);
    CHECK_EQ(crt_listener_get_ttl(self->l), 9);
    CHECK_EQ(crt_listener_set_ttl(self->l, 10), 0);
    CHECK_EQ(crt_listener_get_ttl(self->l), 10);
    CHECK_EQ(crt_listener_set_ttl(self->l, 0), CRT_EINVAL);
    CHECK_EQ(crt_listener_set_backlog(self->l, 3), 0);
    CHECK_EQ(crt_listener_set_backlog(self->l, 0), CRT_EINVAL);
    CHECK_EQ(crt_listener_take_error(self->l), 0);
    CHECK(crt_listener_fd(self->l) > 0);
    // The same port twice, if both say so.
    text_of(self->l, self->text, sizeof self->text);
    if (self->listen.reuseport) LISTEN(self, cx, self->text, &self->listen, &self->l2);
    crt_close(&self->l2);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, self->text, NULL, &self->l2));
    CHECK_EQ(self->r, -EADDRINUSE);
    CHECK(!self->l2);
    // What a desc must not say.
    for (self->i = 0; self->i < 7; self->i++) {
        static const crt_listen_desc bad[] = {{.ttl = 256}, {.ttl = -1}, {.tos = 256}, {.tos = -1}, {.send_buffer = -1},
                                              {.recv_buffer = -1}, {.backlog = -1}};
        CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", &bad[self->i], &self->l2));
        CHECK_EQ(self->r, CRT_EINVAL);
        CHECK(!self->l2);
    }
    for (self->i = 0; self->i < 10; self->i++) {
        static const crt_connect_desc bad[] = {{.ttl = 256}, {.tos = -1}, {.send_buffer = -1}, {.recv_buffer = -1},
            {.attempt_delay = -1}, {.attempt_timeout = -1}, {.linger_on = true, .linger = -1}, {.keepalive = {true, 0, -1, 0}},
            {.local = "localhost:0"}, {.local = ""}};
        CRT_AWAIT(self->r = crt_tcp_connect_ex(cx, self->text, &bad[self->i], &self->a));
        CHECK_EQ(self->r, CRT_EINVAL);
        CHECK(!self->a);
    }
#ifdef __linux__   // what crt lets pass and the system does not
    self->connect = (crt_connect_desc){.keepalive = {true, 40000, 0, 0}, .linger_on = true, .linger = 1, .local = "203.0.113.1:0"};
    CRT_AWAIT(self->r = crt_tcp_connect_ex(cx, self->text, &self->connect, &self->a));
    CHECK(self->r == -EINVAL && !self->a);
#endif
    // Bound to the other family; to an address that is not ours; to a port that is taken.
    CRT_AWAIT(self->r = crt_tcp_connect_ex(cx, self->text, &((crt_connect_desc){.local = "[::1]:0"}), &self->a));
    CHECK_EQ(self->r, -EAFNOSUPPORT);
    CRT_AWAIT(self->r = crt_tcp_connect_ex(cx, "[::1]:1", &((crt_connect_desc){.local = "127.0.0.1:0"}), &self->a));
    CHECK_EQ(self->r, -EAFNOSUPPORT);
    CRT_AWAIT(self->r = crt_tcp_connect_ex(cx, self->text, &((crt_connect_desc){.local = "203.0.113.1:0"}), &self->a));
    CHECK_EQ(self->r, -EADDRNOTAVAIL);
    CRT_AWAIT(self->r = crt_tcp_connect_ex(cx, self->text, &((crt_connect_desc){.local = self->text}), &self->a));
    CHECK_EQ(self->r, -EADDRINUSE);
    // IPv6: both families by default, one if told so.
    self->listen = (crt_listen_desc){.v6only = true, .ttl = 5};
#ifndef _WIN32   // which has that for IPv4 only
    self->listen.tos = 8;
#endif
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "[::]:0", &self->listen, &self->l2));
    if (self->r == 0) {
        CHECK_EQ(crt_listener_get_v6only(self->l2), 1);
        CHECK_EQ(crt_listener_get_ttl(self->l2), 5);
        crt_close(&self->l2);
        LISTEN(self, cx, "[::]:0", NULL, &self->l2);
        CHECK_EQ(crt_listener_get_v6only(self->l2), 0);
    } else {
        CHECK_EQ(self->r, -EAFNOSUPPORT);   // no IPv6 here
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void listener_options(crt_runtime *rt) { run_root(rt, listener_options_run); }

// ---- reads that stop short of what is there --------------------------------

#ifdef __linux__
static bool send_with_descriptor(intptr_t fd, const char *text, int passed)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec piece = {(void *)(uintptr_t)text, strlen(text)};
    struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &passed, sizeof passed);
    return sendmsg((int)fd, &m, MSG_NOSIGNAL) == (ssize_t)strlen(text);
}
// One event for all of it, and a read that stops behind the bytes that descriptors came with:
// the rest must not wait for another event.
static crt_poll descriptors_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    for (self->i = 0; self->i < 3; self->i++) {
        CHECK(send_with_descriptor(crt_stream_fd(self->a), "ab", 2));
        CHECK_EQ(crt_try_write(self->a, "cd", 2), 2);
        CRT_AWAIT(self->r = crt_read(cx, self->b, self->buf, sizeof self->buf));
        CHECK(self->r == 2 && !memcmp(self->buf, "ab", 2));
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(5), crt_read(cx, self->b, self->buf, sizeof self->buf)));
        CHECK(self->r == 2 && !memcmp(self->buf, "cd", 2));
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
// The same at the place of urgent data, on TCP.
static crt_poll urgent_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    LISTEN(self, cx, "127.0.0.1:0", NULL, &self->l);
    MEET(self, cx);
    for (self->i = 0; self->i < 3; self->i++) {
        CHECK_EQ(crt_try_write(self->a, "ab", 2), 2);
        CHECK_EQ(send((int)crt_stream_fd(self->a), "x", 1, MSG_OOB | MSG_NOSIGNAL), 1);
        CHECK_EQ(crt_try_write(self->a, "cd", 2), 2);
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(5), crt_read_exact(cx, self->b, self->buf, 4)));
        CHECK(self->r == 4 && !memcmp(self->buf, "abcd", 4));
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void a_read_stops_at_urgent_data(crt_runtime *rt) { run_root(rt, urgent_run); }
static void a_read_stops_at_descriptors(crt_runtime *rt) { run_root(rt, descriptors_run); }
#endif

// ---- peek, readv, writev ---------------------------------------------------

static crt_poll peek_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    CHECK_EQ(crt_try_peek(self->b, self->buf, 9), CRT_EAGAIN);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(2), crt_peek(cx, self->b, self->buf, 9)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->x = crt_peek(cx, self->b, self->buf, 3)),
        crt_on(cx, 1, self->y = crt_write_all(cx, self->a, "hello", 5))));
    CHECK(self->x == 3 && !memcmp(self->buf, "hel", 3));
    // More than there is, again and again: what is peeked stays.
    for (self->i = 0; self->i < 3; self->i++) {
        CRT_AWAIT(self->r = crt_peek(cx, self->b, self->buf, sizeof self->buf));
        CHECK(self->r == 5 && !memcmp(self->buf, "hello", 5));
    }
    CHECK_EQ(crt_try_peek(self->b, self->buf, 4), 4);
    CRT_AWAIT(self->r = crt_peek(cx, self->b, NULL, 0));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_read(cx, self->b, self->buf, sizeof self->buf));
    CHECK_EQ(self->r, 5);
    crt_close(&self->a);
    CRT_AWAIT(self->r = crt_peek(cx, self->b, self->buf, 9));   // the end can be peeked too
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_peek(cx, NULL, self->buf, 9));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_peek(cx, self->b, NULL, 9));
    CHECK_EQ(self->r, CRT_EINVAL);
    CHECK_EQ(crt_try_peek(NULL, self->buf, 9), CRT_EINVAL);
#ifndef _WIN32   // whose pipes can
    // A pipe cannot.
    CHECK_EQ(crt_pipe(cx, &self->c, &self->d), 0);
    CHECK_EQ(crt_try_write(self->d, "x", 1), 1);
    CRT_AWAIT(self->r = crt_peek(cx, self->c, self->buf, 9));
    CHECK_EQ(self->r, -ENOTSOCK);
#endif
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void peek(crt_runtime *rt) { run_root(rt, peek_run); }

enum { BIG = 3 << 20 };
static void fill(unsigned char *p, size_t n)
{
    uint32_t x = 12345;
    for (size_t i = 0; i < n; i++) p[i] = (unsigned char)((x = x * 1664525 + 1013904223) >> 24);
}
// Over a socket pair, TCP and a pipe: self->k is which.
static crt_poll vectored_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    self->big = malloc(BIG);
    self->big2 = malloc(BIG);
    fill(self->big, BIG);
    for (self->k = 0; self->k < 3; self->k++) {
        if (self->k == 0) CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
        if (self->k == 1) {
            LISTEN(self, cx, "127.0.0.1:0", NULL, &self->l);
            MEET(self, cx);
        }
        if (self->k == 2) CHECK_EQ(crt_pipe(cx, &self->b, &self->a), 0);
        self->piece[0] = (crt_iovec){"ab", 2};
        self->piece[1] = (crt_iovec){NULL, 0};
        self->piece[2] = (crt_iovec){"cdef", 4};
        CRT_AWAIT(self->r = crt_writev(cx, self->a, self->piece, 3));
        CHECK_EQ(self->r, 6);
        self->back[0] = (crt_iovec){self->buf, 1};
        self->back[1] = (crt_iovec){self->buf + 1, 3};
        self->back[2] = (crt_iovec){self->buf + 4, 50};
        CRT_AWAIT(self->r = crt_readv(cx, self->b, self->back, 3));
        CHECK(self->r == 6 && !memcmp(self->buf, "abcdef", 6));
        CHECK_EQ(crt_try_readv(self->b, self->back, 3), CRT_EAGAIN);
        CHECK_EQ(crt_try_writev(self->a, self->piece, 3), 6);
        CRT_AWAIT(self->r = crt_readable(cx, self->b));
        CHECK_EQ(crt_try_readv(self->b, self->back, 2), 4);
        CRT_AWAIT(self->r = crt_read_exact(cx, self->b, self->buf, 2));
        CHECK_EQ(self->r, 2);
        // A wait, cut short and then answered.
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(2), crt_readv(cx, self->b, self->back, 3)));
        CHECK_EQ(self->r, CRT_ETIMEDOUT);
        CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
            crt_on(cx, 0, self->x = crt_readv(cx, self->b, self->back, 3)),
            crt_on(cx, 1, self->y = crt_writev_all(cx, self->a, self->piece, 3))));
        CHECK(self->x == 6 && self->y == 6);
        // Nothing asked for.
        CRT_AWAIT(self->r = crt_writev(cx, self->a, self->piece + 1, 1));
        CHECK_EQ(self->r, 0);
        CRT_AWAIT(self->r = crt_readv(cx, self->b, NULL, 0));
        CHECK_EQ(self->r, 0);
        CRT_AWAIT(self->r = crt_writev_all(cx, self->a, self->piece + 1, 1));
        CHECK_EQ(self->r, 0);
        // Many pieces of odd sizes, more than any buffer holds. The result variable is
        // an operand too: the count of the first poll counts.
        for (self->i = 0, self->n = 0; self->i < 100; self->i++) {
            size_t some = self->i == 99 ? BIG - self->n : (size_t)(self->i * 613 % 50000);
            self->piece[self->i] = (crt_iovec){self->big + self->n, some};
            self->n += some;
        }
        self->y = 100;
        memset(self->big2, 0, BIG);
        CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
            crt_on(cx, 0, self->x = crt_read_exact(cx, self->b, self->big2, BIG)),
            crt_on(cx, 1, self->y = crt_writev_all(cx, self->a, self->piece, (size_t)self->y))));
        CHECK_EQ(self->x, BIG);
        CHECK_EQ(self->y, BIG);
        CHECK(!memcmp(self->big, self->big2, BIG));
        crt_close(&self->a);
        CRT_AWAIT(self->r = crt_readv(cx, self->b, self->back, 3));
        CHECK_EQ(self->r, 0);
        crt_close(&self->b);
        crt_close(&self->l);
    }
    // Bad input.
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    self->back[1].base = NULL;
    CRT_AWAIT(self->r = crt_readv(cx, self->b, self->back, 3));
    CHECK_EQ(self->r, CRT_EINVAL);
    CHECK_EQ(crt_try_readv(self->b, self->back, 3), CRT_EINVAL);
    CRT_AWAIT(self->r = crt_readv(cx, self->b, self->back, 1025));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_writev(cx, self->b, NULL, 1));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_writev_all(cx, NULL, self->piece, 1));
    CHECK_EQ(self->r, CRT_EINVAL);
    CHECK_EQ(crt_try_writev(self->a, NULL, 1), CRT_EINVAL);
    self->back[0] = self->back[1] = (crt_iovec){self->buf, SIZE_MAX / 2 + 1};
    CRT_AWAIT(self->r = crt_readv(cx, self->b, self->back, 2));   // the sum wraps around
    CHECK_EQ(self->r, CRT_EINVAL);
    crt_close(&self->b);
    CRT_AWAIT(self->r = crt_writev_all(cx, self->a, self->piece, 100));
#ifdef _WIN32   // a pair is TCP: what was not read makes it a reset
    CHECK(self->r == -EPIPE || self->r == CRT_ECONNRESET);
#else
    CHECK_EQ(self->r, -EPIPE);
#endif
    CRT_FINALLY
        close_all(self);
        free(self->big);
        free(self->big2);
    CRT_END;
}
static void vectored(crt_runtime *rt) { run_root(rt, vectored_run); }

// ---- the race --------------------------------------------------------------

static void set_port_of(crt_listener *l, int at)
{
    CHECK_EQ(crt_local_addr(l, &fake_list[at]), 0);
}
// Connects; whether there was an answer soon.
static bool is_answered(const crt_addr *a, int *fd)
{
    *fd = test_socket(AF_INET, SOCK_STREAM);
    if (connect(*fd, (const struct sockaddr *)(const void *)a->u.bytes, a->len) && errno != EINPROGRESS) CHECK(!"connect");
    struct pollfd p = {*fd, POLLOUT, 0};
    return poll(&p, 1, 30) != 0;
}
// A listener whose queue is full: who connects gets no answer.
static void fill_backlog(root *self, crt_listener *l)
{
    crt_addr a;
    int another;
    CHECK_EQ(crt_local_addr(l, &a), 0);
    for (self->k = 0; self->k < 60;) {
        if (is_answered(&a, &self->plain[self->k++])) continue;
        bool late = is_answered(&a, &another);   // the one before was late only, on a busy machine
        close(another);
        if (!late) return;
    }
    CHECK(!"the queue does not fill");
}
static void drop_backlog(root *self)
{
    while (self->k > 0) close(self->plain[--self->k]);
}
static crt_poll race_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    LISTEN(self, cx, "127.0.0.1:0", NULL, &self->l);
    LISTEN(self, cx, "127.0.0.2:0", &((crt_listen_desc){.backlog = 1}), &self->l2);
    fill_backlog(self, self->l2);
    // Refused: the next at once, not after the delay.
    crt_addr_parse("127.0.0.3:1", &fake_list[0]);
    crt_addr_parse("127.0.0.4:1", &fake_list[1]);
    set_port_of(self->l, 2);
    fake_count = 3;
    self->since = crt_now(cx);
    CRT_AWAIT(self->r = crt_tcp_connect(cx, "many:1", &self->a));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_now(cx), self->since);
    crt_close(&self->a);
    // No answer: the next after the delay, and it wins. (The clock is virtual: it jumps.)
    set_port_of(self->l2, 0);
    set_port_of(self->l, 1);
    fake_count = 2;
    self->since = crt_now(cx);
    CRT_AWAIT(self->r = crt_tcp_connect(cx, "many:1", &self->a));
    CHECK_EQ(self->r, 0);
    CHECK(crt_now(cx) - self->since >= CRT_MS(250) && crt_now(cx) - self->since <= CRT_MS(252));
    CHECK_EQ(crt_peer_addr(self->a, &self->addr), 0);
    CHECK(crt_addr_equal(&self->addr, &fake_list[1]));
    crt_close(&self->a);
    // A delay of one's own; one of no use is raised to 10 ms.
    self->since = crt_now(cx);
    CRT_AWAIT(self->r = crt_tcp_connect_ex(cx, "many:1", &((crt_connect_desc){.attempt_delay = CRT_MS(40)}), &self->a));
    CHECK_EQ(self->r, 0);
    CHECK(crt_now(cx) - self->since >= CRT_MS(40) && crt_now(cx) - self->since <= CRT_MS(42));
    crt_close(&self->a);
    self->since = crt_now(cx);
    CRT_AWAIT(self->r = crt_tcp_connect_ex(cx, "many:1", &((crt_connect_desc){.attempt_delay = 1}), &self->a));
    CHECK_EQ(self->r, 0);
    CHECK(crt_now(cx) - self->since >= CRT_MS(10) && crt_now(cx) - self->since <= CRT_MS(12));
    crt_close(&self->a);
    // No answer, then refused at its time, then the one behind it at once.
    crt_addr_parse("127.0.0.3:1", &fake_list[1]);
    set_port_of(self->l, 2);
    fake_count = 3;
    self->since = crt_now(cx);
    CRT_AWAIT(self->r = crt_tcp_connect(cx, "many:1", &self->a));
    CHECK_EQ(self->r, 0);
    CHECK(crt_now(cx) - self->since >= CRT_MS(250) && crt_now(cx) - self->since <= CRT_MS(252));
    crt_close(&self->a);
    // One after the other, each with its time.
    set_port_of(self->l2, 1);
    fake_count = 2;
    self->connect = (crt_connect_desc){.attempt_delay = CRT_FOREVER, .attempt_timeout = CRT_MS(70)};
    self->since = crt_now(cx);
    CRT_AWAIT(self->r = crt_tcp_connect_ex(cx, "many:1", &self->connect, &self->a));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK(!self->a);
    CHECK(crt_now(cx) - self->since >= CRT_MS(140) && crt_now(cx) - self->since <= CRT_MS(144));
    // Cancelled in the middle, with two under way: nothing is left (run_root counts).
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(300), crt_tcp_connect(cx, "many:1", &self->a)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK(!self->a);
    self->value = fd_count();
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(100), crt_tcp_connect(cx, "many:1", &self->a)));
    CHECK_EQ(fd_count(), self->value);
    // Bound: only addresses of that family; and everybody refuses: the last says why.
    crt_addr_parse("[::1]:1", &fake_list[0]);
    crt_addr_parse("127.0.0.3:1", &fake_list[1]);
    CRT_AWAIT(self->r = crt_tcp_connect_ex(cx, "many:1", &((crt_connect_desc){.local = "127.0.0.5:0"}), &self->a));
    CHECK_EQ(self->r, -ECONNREFUSED);
    fake_count = 1;
    CRT_AWAIT(self->r = crt_tcp_connect_ex(cx, "many:1", &((crt_connect_desc){.local = "127.0.0.5:0"}), &self->a));
    CHECK_EQ(self->r, -EAFNOSUPPORT);
    CRT_AWAIT(self->r = crt_tcp_connect(cx, "nobody:1", &self->a));
    CHECK_EQ(self->r, CRT_ENOTFOUND);
    CRT_FINALLY
        drop_backlog(self);
        close_all(self);
    CRT_END;
}
static void race(void)
{
    crt_runtime *rt;
    crt_config c = {.flavor = CRT_CURRENT_THREAD, .start_paused = true};
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    run_root(rt, race_run);
    crt_runtime_drop(&rt);
}
// The winner need not be the newest attempt: the first is let in when its queue has
// been emptied and the kernel tries again, after a second. The loser is closed.
typedef struct drain {
    crt_frame co;
    root *r;
} drain;
static crt_poll drain_run(void *frame, crt_cx *cx)
{
    drain *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(60)));   // both attempts are under way
    while (crt_try_accept(self->r->l2, &self->r->b, NULL) == 0) crt_close(&self->r->b);
    CRT_END;
}
static crt_poll late_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    LISTEN(self, cx, "127.0.0.2:0", &((crt_listen_desc){.backlog = 1}), &self->l);
    fill_backlog(self, self->l);
    self->n = (size_t)self->k;
    for (self->i = 0; self->i < (int)self->n; self->i++) self->plain[63 - self->i] = self->plain[self->i];
    LISTEN(self, cx, "127.0.0.2:0", &((crt_listen_desc){.backlog = 1}), &self->l2);
    fill_backlog(self, self->l2);
    set_port_of(self->l2, 0);
    set_port_of(self->l, 1);
    fake_count = 2;
    self->value = fd_count();
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], drain_run, &(drain){.r = self}), 0);
    self->connect = (crt_connect_desc){.attempt_delay = CRT_MS(20)};
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(20), crt_tcp_connect_ex(cx, "many:1", &self->connect, &self->a)));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(fd_count(), self->value + 1);
    CHECK_EQ(crt_peer_addr(self->a, &self->addr), 0);
    CHECK(crt_addr_equal(&self->addr, &fake_list[0]));
    CRT_AWAIT(self->r = crt_join(cx, &self->join[0], NULL));
    CRT_FINALLY
        drop_backlog(self);
        for (self->i = 0; self->i < (int)self->n; self->i++) close(self->plain[63 - self->i]);
        close_all(self);
    CRT_END;
}
static void late(crt_runtime *rt) { run_root(rt, late_run); }
// Aborted, or shut down with the runtime, in the middle of a race.
typedef struct racer {
    crt_frame co;
    crt_stream *s;
    crt_poll r;
} racer;
static crt_poll racer_run(void *frame, crt_cx *cx)
{
    racer *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_connect_ex(cx, "many:1", &((crt_connect_desc){.attempt_delay = CRT_MS(10)}), &self->s));
    CHECK(!"connected");
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
static crt_poll aborted_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    LISTEN(self, cx, "127.0.0.2:0", &((crt_listen_desc){.backlog = 1}), &self->l2);
    fill_backlog(self, self->l2);
    for (self->i = 0; self->i < 4; self->i++) set_port_of(self->l2, self->i);
    fake_count = 4;
    for (self->i = 0; self->i < 12; self->i++) {
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], racer_run, &(racer){.s = NULL}), 0);
        CRT_AWAIT(crt_sleep(cx, CRT_MS(self->i)));
    }
    for (self->i = 0; self->i < 8; self->i++) {
        crt_abort(self->join[self->i]);
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        CHECK_EQ(self->r, CRT_ECANCELED);
    }
    CRT_FINALLY
        drop_backlog(self);
        close_all(self);   // four are left to the runtime's end
    CRT_END;
}
static void aborted(void)
{
    for (int workers = 0; workers <= 4; workers += 2) {
        crt_runtime *rt;
        crt_config c = {.flavor = workers ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD, .worker_threads = workers};
        int fds = fd_count();
        CHECK_EQ(crt_runtime_new(&c, &rt), 0);
        root *r = calloc(1, sizeof *r);
        CHECK_EQ(crt_block_on(rt, aborted_run, r), 0);
        crt_runtime_drop(&rt);
        free(r);
        CHECK_EQ(fd_count(), fds);
    }
}
static void order(void)
{
    static const char *const given[] = {"[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "[::4]:1", "2.2.2.2:1"};
    static const char *const want[] = {"[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1", "[::4]:1"};
    crt_addr a[6];
    char text[64];
    crt__race r;
    memset(&r, 0, sizeof r);
    for (int i = 0; i < 6; i++) CHECK_EQ(crt_addr_parse(given[i], &a[i]), 0);
    r.addr = a;
    r.count = 6;
    crt__race_order(&r);
    CHECK_EQ(r.count, 6);
    for (int i = 0; i < 6; i++) CHECK(crt_addr_format(&a[i], text, sizeof text) > 0 && !strcmp(text, want[i]));
    CHECK_EQ(crt_addr_parse("9.9.9.9:0", &r.local), 0);   // bound to IPv4
    crt__race_order(&r);
    CHECK_EQ(r.count, 2);
    CHECK(crt_addr_format(&a[1], text, sizeof text) > 0 && !strcmp(text, "2.2.2.2:1"));
}

// ---- names -----------------------------------------------------------------

typedef struct looker {
    crt_frame co;
    crt_addr a[2];
    crt_stream *s;
    crt_poll r;
    int connects;
} looker;
static crt_poll looker_run(void *frame, crt_cx *cx)
{
    looker *self = frame;
    CRT_BEGIN(self, cx);
    if (self->connects) CRT_AWAIT(self->r = crt_tcp_connect(cx, "slow:1", &self->s));
    else CRT_AWAIT(self->r = crt_resolve(cx, "slow:1", self->a, 2));
    CRT_RETURN(self->r);
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
static intptr_t quick_job(void *arg) { return (intptr_t)arg; }
static void slow_reset(void) { slow_now = slow_most = slow_begun = slow_release = 0; }
#define WAIT_UNTIL(condition) while (!(condition)) CRT_AWAIT(crt_sleep(cx, CRT_US(200)))

static bool gate_is_empty(crt_runtime *rt)
{
    crt__lock(&rt->lookup_lock);
    bool empty = !rt->lookups && !rt->lookup_first;
    crt__unlock(&rt->lookup_lock);
    return empty;
}
// Three threads, two lookups at a time. Twelve want one; some are cancelled while they
// wait, some while they run; other blocking work goes on all the while.
static crt_poll gate_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    slow_reset();
    for (self->i = 0; self->i < 12; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], looker_run, &(looker){.connects = self->i % 3 == 2}), 0);
    WAIT_UNTIL(__atomic_load_n(&slow_begun, __ATOMIC_SEQ_CST) == 2);
    for (self->i = 0; self->i < 20; self->i++) {
        CHECK_EQ(crt_spawn_blocking(cx, &self->join[12], quick_job, (void *)7), 0);
        CRT_AWAIT(self->r = crt_join(cx, &self->join[12], &self->result));
        CHECK(self->r == 0 && self->result == 7);
    }
    CRT_AWAIT(crt_sleep(cx, CRT_MS(2)));   // every looker has been polled by now, or soon
    for (self->i = 0; self->i < 12; self->i += 2) {
        crt_abort(self->join[self->i]);
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        CHECK_EQ(self->r, CRT_ECANCELED);
    }
    __atomic_store_n(&slow_release, 1, __ATOMIC_SEQ_CST);
    for (self->i = 1; self->i < 12; self->i += 2) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], &self->result));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(self->result, self->i % 3 == 2 ? -ECONNREFUSED : 1);
    }
    CHECK_EQ(slow_most, 2);
    // The gate is open again.
    CRT_AWAIT(self->r = crt_resolve(cx, "slow:1", self->list, 4));
    CHECK_EQ(self->r, 1);
    CHECK_EQ(slow_most, 2);
    WAIT_UNTIL(gate_is_empty(cx->rt));
    CRT_FINALLY
        __atomic_store_n(&slow_release, 1, __ATOMIC_SEQ_CST);
        close_all(self);
    CRT_END;
}
static void gate(crt_runtime *rt) { run_root(rt, gate_run); }

// The runtime ends while lookups run, and others wait for their turn.
static crt_poll crowd_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    slow_reset();
    for (self->i = 0; self->i < 6; self->i++)
        CHECK_EQ(crt_spawn(cx, looker_run, &(looker){.connects = self->i % 2}), 0);
    WAIT_UNTIL(__atomic_load_n(&slow_begun, __ATOMIC_SEQ_CST) == 1);
    __atomic_store_n(&slow_release, 1, __ATOMIC_SEQ_CST);
    CRT_END;
}
static void gate_at_the_end(crt_runtime *rt)
{
    int fds = fd_count();
    root *r = calloc(1, sizeof *r);
    CHECK_EQ(crt_block_on(rt, crowd_run, r), 0);
    CHECK_EQ(crt_runtime_shutdown(rt, CRT_FOREVER), 0);
    CHECK_EQ(fd_count(), fds);
    free(r);
}
// It ends by a deadline while one runs. The lookup ends unheard, later.
static void gate_left_behind(crt_runtime *rt)
{
    int fds = fd_count();
    root *r = calloc(1, sizeof *r);
    crt_handle *h = crt_runtime_handle(rt);
    slow_reset();
    for (int i = 0; i < 6; i++) CHECK_EQ(crt_handle_spawn(h, looker_run, &(looker){.connects = i % 2}), 0);
    crt_handle_drop(&h);
    if (crt_runtime_config(rt)->flavor == CRT_CURRENT_THREAD) crt_runtime_turn(rt, CRT_MS(1));
    while (!__atomic_load_n(&slow_begun, __ATOMIC_SEQ_CST)) test_pause_us(100);
    CHECK_EQ(crt_runtime_shutdown(rt, CRT_MS(20)), 1);   // the job
    __atomic_store_n(&slow_release, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&slow_now, __ATOMIC_SEQ_CST)) test_pause_us(100);
    CHECK_EQ(slow_begun, 1);   // nobody wanted the others any more
    free(r);
    for (int i = 0; i < 5000 && fd_count() != fds; i++) test_pause_us(1000);   // a worker that was put aside
    CHECK_EQ(fd_count(), fds);
}
// No thread can be started at all: every call says so, nothing hangs, and once there are
// threads it works.
static crt_poll threadless_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    slow_reset();
    slow_release = 1;
    for (self->k = 0; self->k < 2; self->k++) {
        no_threads = self->k == 0;
        for (self->i = 0; self->i < 6; self->i++)
            CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], looker_run, &(looker){.connects = self->i % 2}), 0);
        for (self->i = 0; self->i < 6; self->i++) {
            CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], &self->result));
            CHECK_EQ(self->r, 0);
            CHECK_EQ(self->result, self->k == 0 ? -EAGAIN : self->i % 2 ? -ECONNREFUSED : 1);
        }
        WAIT_UNTIL(gate_is_empty(cx->rt));
    }
    CRT_FINALLY
        no_threads = 0;
        close_all(self);
    CRT_END;
}
static void threadless(void)
{
    for (int lookups = 1; lookups < 4; lookups++) {
        crt_runtime *rt;
        crt_config c = {.flavor = CRT_CURRENT_THREAD, .max_lookups = lookups, .log.func = test_log};
        CHECK_EQ(crt_runtime_new(&c, &rt), 0);
        run_root(rt, threadless_run);
        crt_runtime_drop(&rt);
    }
}
static crt_poll defaults_run(void *frame, crt_cx *cx)
{
    static crt_addr found[20];
    root *self = frame;
    CRT_BEGIN(self, cx);
    self->value = crt_runtime_config(cx->rt)->max_lookups;
    CRT_AWAIT(self->r = crt_resolve(cx, "127.0.0.1:5", NULL, 0));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_resolve(cx, "127.0.0.1:5", NULL, 3));
    CHECK_EQ(self->r, CRT_EINVAL);
    for (self->i = 0; self->i < 16; self->i++) crt_addr_parse("127.0.0.1:9", &fake_list[self->i]);
    fake_count = 16;
    CRT_AWAIT(self->r = crt_resolve(cx, "many:5", self->list, 3));
    CHECK_EQ(self->r, 3);
    // More than there is room for; some that are of no use, or all of them.
    for (self->i = 16; self->i < 20; self->i++) crt_addr_parse("127.0.0.1:9", &fake_list[self->i]);
    fake_count = 20;
    CRT_AWAIT(self->r = crt_resolve(cx, "many:5", found, 20));
    CHECK_EQ(self->r, 16);
    memset(&fake_list[0], 0, sizeof fake_list[0]);
    fake_list[0].len = fake_list[1].len;
    for (fake_count = 2; fake_count; fake_count--) {
        CRT_AWAIT(self->r = crt_resolve(cx, "many:5", found, 20));
        CHECK_EQ(self->r, fake_count == 2 ? 1 : CRT_ENOTFOUND);
    }
    fake_count = 16;
    for (self->i = 0; self->i < 5; self->i++) {
        static const char *const bad[] = {"many", "many:", ":80", "many:65536", "[many]:80"};
        CRT_AWAIT(self->r = crt_resolve(cx, bad[self->i], self->list, 4));
        CHECK_EQ(self->r, CRT_EINVAL);
        CRT_AWAIT(self->r = crt_tcp_connect(cx, bad[self->i], &self->a));
        CHECK_EQ(self->r, CRT_EINVAL);
    }
    CRT_RETURN(self->value);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void lookup_limits(void)
{
    static const struct { int threads, lookups, want; } t[] = {{0, 0, 16}, {512, 3, 3}, {10, 0, 5}, {1, 0, 1}, {1, 9, 9}};
    for (int i = 0; i < 5; i++) {
        crt_runtime *rt;
        root r;
        memset(&r, 0, sizeof r);
        crt_config c = {.flavor = CRT_CURRENT_THREAD, .max_blocking_threads = t[i].threads, .max_lookups = t[i].lookups};
        CHECK_EQ(crt_runtime_new(&c, &rt), 0);
        CHECK_EQ(crt_block_on(rt, defaults_run, &r), t[i].want);
        crt_runtime_drop(&rt);
    }
    crt_runtime *rt;
    CHECK_EQ(crt_runtime_new(&(crt_config){.max_lookups = -1, .log.func = test_log}, &rt), CRT_EINVAL);
    CHECK(test_log_has("max_lookups"));
}

// ---- pipes and foreign descriptors -----------------------------------------

static crt_poll pipe_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_pipe(cx, &self->a, &self->b), 0);
#ifndef _WIN32   // a pipe is no socket there, and has no descriptor
    CHECK((fcntl((int)crt_stream_fd(self->a), F_GETFL) & O_NONBLOCK) && (fcntl((int)crt_stream_fd(self->b), F_GETFD) & FD_CLOEXEC));
    CRT_AWAIT(self->r = crt_peek(cx, self->a, self->buf, 1));   // at once, though there is nothing to be read
    CHECK_EQ(self->r, -ENOTSOCK);
    // Foreign ends, the wrong way round.
    CHECK_EQ(crt_stream_from_fd(cx, crt_stream_fd(self->a), CRT_FD_DUP, &self->c), 0);
    CHECK_EQ(crt_stream_from_fd(cx, crt_stream_fd(self->b), CRT_FD_DUP, &self->d), 0);
    CRT_AWAIT(self->r = crt_write(cx, self->c, "x", 1));
    CHECK_EQ(self->r, -EBADF);
    CRT_AWAIT(self->r = crt_read(cx, self->d, self->buf, 1));
    CHECK_EQ(self->r, -EBADF);
    crt_close(&self->c);
    crt_close(&self->d);
#endif
    CHECK_EQ(crt_try_read(self->a, self->buf, 9), CRT_EAGAIN);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->x = crt_read(cx, self->a, self->buf, sizeof self->buf)),
        crt_on(cx, 1, self->y = crt_write_all(cx, self->b, "through", 7))));
    CHECK(self->x == 7 && self->y == 7 && !memcmp(self->buf, "through", 7));
    // More than a pipe holds.
    self->big = malloc(BIG);
    self->big2 = calloc(1, BIG);
    fill(self->big, BIG);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->x = crt_read_exact(cx, self->a, self->big2, BIG)),
        crt_on(cx, 1, self->y = crt_write_all(cx, self->b, self->big, BIG))));
    CHECK(self->x == BIG && self->y == BIG && !memcmp(self->big, self->big2, BIG));
    // Wrong direction; the end; nobody reads: an error, and no signal (its default
    // action would end this program), not even one that waits.
    CRT_AWAIT(self->r = crt_shutdown(cx, self->b));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_try_write(self->a, "x", 1), -EBADF);
    CHECK_EQ(crt_try_read(self->b, self->buf, 1), -EBADF);
    crt_close(&self->b);
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 9));
    CHECK_EQ(self->r, 0);
    crt_close(&self->a);
    CHECK_EQ(crt_pipe(cx, &self->a, &self->b), 0);
    crt_close(&self->a);
    CRT_AWAIT(self->r = crt_write_all(cx, self->b, "x", 1));
    CHECK_EQ(self->r, -EPIPE);
    CRT_AWAIT(self->r = crt_writev_all(cx, self->b, &((crt_iovec){"x", 1}), 1));
    CHECK_EQ(self->r, -EPIPE);
#ifndef _WIN32
    sigset_t pending;
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGPIPE));
#endif
    crt_close(&self->b);
    // The reader goes while a writer waits.
    CHECK_EQ(crt_pipe(cx, &self->a, &self->b), 0);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->x = crt_write_all(cx, self->b, self->big, BIG)),
        crt_on(cx, 1, self->y = crt_sleep(cx, CRT_MS(1)) == 0 ? (crt_close(&self->a), 0) : CRT_PENDING)));
    CHECK_EQ(self->x, -EPIPE);
    CRT_FINALLY
        close_all(self);
        free(self->big);
        free(self->big2);
    CRT_END;
}
static void pipes(crt_runtime *rt)
{
#ifndef _WIN32
    signal(SIGPIPE, SIG_DFL);
#endif
    run_root(rt, pipe_run);
}

static crt_poll adopt_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    int two[2];
    CRT_BEGIN(self, cx);
#ifndef _WIN32   // only sockets are descriptors there
    // A plain file and a directory: no, with a line that says what to do.
    snprintf(self->text, sizeof self->text, "%s/plain", dir);
    self->fd = open(self->text, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    test_log_clear();
    CHECK_EQ(crt_stream_from_fd(cx, self->fd, CRT_FD_OWN, &self->a), -EPERM);
    CHECK(!self->a && test_log_has("crt_fs_"));
    CHECK(!(fcntl(self->fd, F_GETFL) & O_NONBLOCK));   // still the caller's, as it was
    close(self->fd);
    unlink(self->text);
    self->fd = open("/tmp", O_RDONLY | O_CLOEXEC);
    CHECK_EQ(crt_stream_from_fd(cx, self->fd, CRT_FD_DUP, &self->a), -EPERM);
    close(self->fd);
    // What epoll does not take.
    self->fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    CHECK_EQ(crt_stream_from_fd(cx, self->fd, CRT_FD_OWN, &self->a), -EPERM);
    CHECK(!(fcntl(self->fd, F_GETFL) & O_NONBLOCK));
    close(self->fd);
    CHECK_EQ(crt_stream_from_fd(cx, self->fd, CRT_FD_OWN, &self->a), -EBADF);
#endif
    CHECK_EQ(crt_stream_from_fd(cx, -1, CRT_FD_OWN, &self->a), CRT_EINVAL);
    CHECK_EQ(crt_stream_from_fd(cx, 0, 7, &self->a), CRT_EINVAL);
    // A blocking pipe of somebody else's becomes two streams; given back, the same numbers.
    CHECK_EQ(pipe(two), 0);
    self->fd = two[0];
    self->fd2 = two[1];
    CHECK_EQ(crt_stream_from_fd(cx, self->fd, CRT_FD_OWN, &self->a), 0);
    CHECK_EQ(crt_stream_from_fd(cx, self->fd2, CRT_FD_DUP, &self->b), 0);
    CHECK_EQ(crt_stream_fd(self->a), self->fd);
    CHECK(crt_stream_fd(self->b) != self->fd2);
    CHECK(fcntl(self->fd, F_GETFD) & FD_CLOEXEC);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->x = crt_read(cx, self->a, self->buf, sizeof self->buf)),
        crt_on(cx, 1, self->y = crt_write_all(cx, self->b, "adopted", 7))));
    CHECK_EQ(self->x, 7);
    crt_close(&self->b);
    CHECK_EQ(write(self->fd2, "mine", 4), 4);   // the duplicate has gone, ours has not
    self->c = crt_stream_clone(self->a);
    CHECK_EQ(crt_stream_into_fd(&self->a), CRT_EBUSY);
    CHECK(self->a != NULL);
    crt_close(&self->c);
    CHECK_EQ(crt_stream_into_fd(&self->a), self->fd);
    CHECK(!self->a);
    CHECK_EQ(read(self->fd, self->buf, 9), 4);
    CHECK_EQ(crt_stream_into_fd(&self->a), CRT_EINVAL);
    CHECK_EQ(crt_stream_into_fd(NULL), CRT_EINVAL);
    // And taken again, which another registration must not hinder. Who waits while it
    // is given back hears of it.
    CHECK_EQ(crt_stream_from_fd(cx, self->fd, CRT_FD_OWN, &self->a), 0);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->x = crt_read(cx, self->a, self->buf, sizeof self->buf)),
        crt_on(cx, 1, self->y = crt_sleep(cx, CRT_MS(1)) == 0 ? (crt_stream_into_fd(&self->a), 0) : CRT_PENDING)));
    CHECK_EQ(self->x, CRT_ECLOSED);
    close(self->fd);
    close(self->fd2);
    // Sockets by their kind.
    LISTEN(self, cx, "127.0.0.1:0", NULL, &self->l);
    self->fd = (int)crt_listener_into_fd(&self->l);
    CHECK(self->fd >= 0 && !self->l);
    CHECK_EQ(crt_stream_from_fd(cx, self->fd, CRT_FD_OWN, &self->a), -EPROTOTYPE);
    CHECK_EQ(crt_udp_from_fd(cx, self->fd, CRT_FD_OWN, &self->u), -EPROTOTYPE);
    CHECK_EQ(crt_listener_from_fd(cx, self->fd, CRT_FD_OWN, &self->l), 0);
    MEET(self, cx);
    CHECK_EQ(crt_stream_get_nodelay(self->b), 1);
    self->fd = (int)crt_stream_into_fd(&self->b);
    CHECK_EQ(crt_listener_from_fd(cx, self->fd, CRT_FD_OWN, &self->l2), -EPROTOTYPE);
    CHECK_EQ(crt_udp_from_fd(cx, self->fd, CRT_FD_OWN, &self->u), -EPROTOTYPE);
    CHECK_EQ(crt_stream_from_fd(cx, self->fd, CRT_FD_OWN, &self->b), 0);
    CRT_AWAIT(self->r = crt_write_all(cx, self->a, "again", 5));
    CRT_AWAIT(self->r = crt_read_exact(cx, self->b, self->buf, 5));
    CHECK_EQ(self->r, 5);
    CRT_AWAIT(self->r = crt_udp_bind(cx, "127.0.0.1:0", &self->u));
    self->fd = (int)crt_udp_into_fd(&self->u);
    CHECK_EQ(crt_stream_from_fd(cx, self->fd, CRT_FD_OWN, &self->c), -EPROTOTYPE);
    CHECK_EQ(crt_udp_from_fd(cx, self->fd, CRT_FD_OWN, &self->u), 0);
    CHECK_EQ(crt_udp_from_fd(cx, 0, CRT_FD_OWN, &self->v) < 0, 1);   // stdin
#ifndef _WIN32   // no packets in order, no terminals
    // Packets keep their boundaries, and a short one is not the last.
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | TEST_CLOEXEC, 0, two), 0);
    CHECK(send(two[1], "one", 3, 0) == 3 && send(two[1], "three", 5, 0) == 5);
    CHECK_EQ(crt_stream_from_fd(cx, two[0], CRT_FD_OWN, &self->c), 0);
    self->fd2 = two[1];
    CRT_AWAIT(self->r = crt_read(cx, self->c, self->buf, sizeof self->buf));
    CHECK_EQ(self->r, 3);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(5), crt_read(cx, self->c, self->buf, sizeof self->buf)));
    CHECK_EQ(self->r, 5);
    crt_close(&self->c);
    close(self->fd2);
    // A terminal gives a line at a time; an eventfd eight bytes.
    self->fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(self->fd >= 0 && !grantpt(self->fd) && !unlockpt(self->fd));
    self->fd2 = open(ptsname(self->fd), O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(self->fd2 >= 0);
    CHECK_EQ(crt_stream_from_fd(cx, self->fd2, CRT_FD_OWN, &self->c), 0);
    CHECK_EQ(write(self->fd, "first\nsecond\n", 13), 13);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(5), crt_read(cx, self->c, self->buf, sizeof self->buf)));
    CHECK_EQ(self->r, 6);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(5), crt_read(cx, self->c, self->buf, sizeof self->buf)));
    CHECK_EQ(self->r, 7);
    crt_close(&self->c);
    close(self->fd);
#endif
#ifdef __linux__
    self->fd = eventfd(0, EFD_CLOEXEC);
    CHECK_EQ(crt_stream_from_fd(cx, self->fd, CRT_FD_OWN, &self->c), 0);
    CRT_AWAIT(self->r = crt_write(cx, self->c, &((uint64_t){5}), 8));
    CHECK_EQ(self->r, 8);
    CRT_AWAIT(self->r = crt_read_exact(cx, self->c, self->buf, 8));
    CHECK(self->r == 8 && !memcmp(self->buf, &(uint64_t){5}, 8));   // in the processor's byte order
#endif
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void adopted(crt_runtime *rt) { run_root(rt, adopt_run); }

// Waits for whatever can be polled.
static crt_poll ready_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
#ifdef __linux__
    // inotify
    self->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    CHECK(inotify_add_watch(self->fd, dir, IN_CREATE) >= 0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(2), crt_fd_readable(cx, self->fd)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    snprintf(self->text, sizeof self->text, "%s/watched", dir);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->x = crt_fd_readable(cx, self->fd)),
        crt_on(cx, 1, self->y = crt_sleep(cx, CRT_MS(1)) == 0 ? mkdir(self->text, 0700) : CRT_PENDING)));
    CHECK_EQ(self->x, 0);
    CHECK(read(self->fd, self->buf, sizeof self->buf) > 0);
    rmdir(self->text);
    close(self->fd);
    // timerfd
    self->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    CHECK_EQ(timerfd_settime(self->fd, 0, &(struct itimerspec){.it_value = {0, 1000000}}, NULL), 0);
    CRT_AWAIT(self->r = crt_fd_ready(cx, self->fd, CRT_FD_READ | (HAS_PRIORITY ? CRT_FD_PRIORITY : 0)));
    CHECK_EQ(self->r, CRT_FD_READ);
    close(self->fd);
    // eventfd: writable until it is full, readable from the first on
    self->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CRT_AWAIT(self->r = crt_fd_writable(cx, self->fd));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fd_ready(cx, self->fd, CRT_FD_READ | CRT_FD_WRITE));
    CHECK_EQ(self->r, CRT_FD_WRITE);
    eventfd_write(self->fd, UINT64_MAX - 1);
    CRT_AWAIT(self->r = crt_fd_ready(cx, self->fd, CRT_FD_READ | CRT_FD_WRITE));
    CHECK_EQ(self->r, CRT_FD_READ);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->x = crt_fd_writable(cx, self->fd)),
        crt_on(cx, 1, self->y = crt_sleep(cx, CRT_MS(1)) == 0 ? eventfd_read(self->fd, (eventfd_t *)(void *)self->buf) : CRT_PENDING)));
    CHECK_EQ(self->x, 0);
    close(self->fd);
#endif
    // Urgent data, at once and waited for; a socket of another library's; a hang-up.
    LISTEN(self, cx, "127.0.0.1:0", NULL, &self->l);
    MEET(self, cx);
    self->fd = (int)crt_stream_into_fd(&self->b);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->x = crt_fd_ready(cx, self->fd, CRT_FD_PRIORITY)),
        crt_on(cx, 1, self->y = crt_sleep(cx, CRT_MS(1)) == 0 ? send((int)crt_stream_fd(self->a), "!", 1, MSG_OOB) : CRT_PENDING)));
    CHECK_EQ(self->x, HAS_PRIORITY ? CRT_FD_PRIORITY : -EOPNOTSUPP);
    CRT_AWAIT(self->r = crt_fd_ready(cx, self->fd, CRT_FD_PRIORITY));
    CHECK_EQ(self->r, HAS_PRIORITY ? CRT_FD_PRIORITY : -EOPNOTSUPP);
    CHECK_EQ(recv(self->fd, self->buf, 1, MSG_OOB), 1);
    crt_stream_set_linger(self->a, 0);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->x = crt_fd_ready(cx, self->fd, 0)),   // a hang-up needs no asking
        crt_on(cx, 1, self->y = crt_sleep(cx, CRT_MS(1)) == 0 ? (crt_close(&self->a), 0) : CRT_PENDING)));
    CHECK(self->x > 0 && (self->x & CRT_FD_HANGUP) && !(self->x & ~(CRT_FD_HANGUP | CRT_FD_ERROR)));
    close(self->fd);
    CRT_AWAIT(self->r = crt_fd_ready(cx, self->fd, CRT_FD_READ));
#ifdef _WIN32
    CHECK_EQ(self->r, -ENOTSOCK);
#else
    CHECK_EQ(self->r, -EBADF);
#endif
    CRT_AWAIT(self->r = crt_fd_ready(cx, -3, CRT_FD_READ));
    CHECK_EQ(self->r, -EBADF);
    CRT_AWAIT(self->r = crt_fd_ready(cx, 0, 64));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void ready(crt_runtime *rt) { run_root(rt, ready_run); }

// ---- datagrams -------------------------------------------------------------

static void pair_of_udp(root *self)
{
    CHECK_EQ(crt_local_addr(self->u, &self->addr), 0);
    CHECK_EQ(crt_local_addr(self->v, &self->peer), 0);
}
static crt_poll udp_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    // Options, by desc and by accessor.
    self->udp = (crt_udp_desc){.broadcast = true, .send_buffer = 30000, .recv_buffer = 40000, .ttl = 7, .tos = 16,
                               .multicast_ttl = 3, .no_multicast_loop = true, .reuseaddr = true};
    CRT_AWAIT(self->r = crt_udp_bind_ex(cx, "127.0.0.1:0", &self->udp, &self->u));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_udp_get_broadcast(self->u), 1);
    CHECK_EQ(crt_udp_get_send_buffer(self->u), DOUBLED * 30000);
    CHECK_EQ(crt_udp_get_recv_buffer(self->u), DOUBLED * 40000);
    CHECK_EQ(crt_udp_get_ttl(self->u), 7);
    CHECK_EQ(crt_udp_get_tos(self->u), 16);
    CHECK_EQ(crt_udp_get_multicast_ttl(self->u), 3);
    CHECK_EQ(crt_udp_get_multicast_loop(self->u), 0);
    CHECK(!crt_udp_set_broadcast(self->u, false) && crt_udp_get_broadcast(self->u) == 0);
    CHECK(!crt_udp_set_ttl(self->u, 8) && crt_udp_get_ttl(self->u) == 8);
    CHECK(!crt_udp_set_tos(self->u, 8) && crt_udp_get_tos(self->u) == 8);
    CHECK(!crt_udp_set_multicast_ttl(self->u, 0) && crt_udp_get_multicast_ttl(self->u) == 0);
    CHECK(!crt_udp_set_multicast_loop(self->u, true) && crt_udp_get_multicast_loop(self->u) == 1);
    CHECK(!crt_udp_set_send_buffer(self->u, 20000) && crt_udp_get_send_buffer(self->u) == DOUBLED * 20000);
    CHECK(!crt_udp_set_recv_buffer(self->u, 200000) && crt_udp_get_recv_buffer(self->u) == DOUBLED * 200000);
    CHECK(crt_udp_set_ttl(self->u, 0) == CRT_EINVAL && crt_udp_set_multicast_ttl(self->u, 256) == CRT_EINVAL);
    CHECK(crt_udp_set_ttl(NULL, 5) == CRT_EINVAL && crt_udp_get_broadcast(NULL) == CRT_EINVAL && crt_udp_fd(NULL) == CRT_EINVAL);
    for (self->i = 0; self->i < 6; self->i++) {
        static const crt_udp_desc bad[] = {{.ttl = 256}, {.tos = -1}, {.send_buffer = -1}, {.recv_buffer = -1},
                                           {.multicast_ttl = 256}, {.multicast_ttl = -1}};
        CRT_AWAIT(self->r = crt_udp_bind_ex(cx, "127.0.0.1:0", &bad[self->i], &self->v));
        CHECK_EQ(self->r, CRT_EINVAL);
        CHECK(!self->v);
    }
    CRT_AWAIT(self->r = crt_udp_bind(cx, "127.0.0.1:0", &self->v));
    pair_of_udp(self);
    // Tries and readiness.
    CHECK_EQ(crt_udp_try_recv_from(self->v, self->buf, 9, NULL), CRT_EAGAIN);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(2), crt_udp_readable(cx, self->v)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CRT_AWAIT(self->r = crt_udp_writable(cx, self->u));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->x = crt_udp_readable(cx, self->v)),
        crt_on(cx, 1, self->y = crt_udp_try_send_to(self->u, "peekable", 8, &self->peer))));
    CHECK(self->x == 0 && self->y == 8);
    // Peeked at, cut off, and still there; then taken.
    self->list[0].len = 77;
    CRT_AWAIT(self->r = crt_udp_peek_from(cx, self->v, self->buf, 4, &self->list[0]));
    CHECK(self->r == 4 && !memcmp(self->buf, "peek", 4) && crt_addr_equal(&self->list[0], &self->addr));
    CRT_AWAIT(self->r = crt_udp_peek_from(cx, self->v, self->buf, 99, NULL));
    CHECK_EQ(self->r, 8);
    CHECK_EQ(crt_udp_try_recv_from(self->v, self->buf, 99, &self->list[0]), 8);
    CHECK(crt_addr_equal(&self->list[0], &self->addr));
    CHECK_EQ(crt_udp_try_recv_from(self->v, self->buf, 99, &self->list[0]), CRT_EAGAIN);
    CHECK_EQ(self->list[0].len, 0);
    // Batches: 70, more than goes at once; to the peer that each names. One is longer
    // than the room for it.
    for (self->i = 0; self->i < 80; self->i++)
        self->msg[self->i] = (crt_udp_msg){.buf = self->bufs[self->i], .addr = self->peer,
            .size = (size_t)snprintf(self->bufs[self->i], 16, "%d%s", self->i, self->i == 5 ? " is longer" : "")};
    CRT_AWAIT(self->r = crt_udp_send_many(cx, self->u, self->msg, 70));
    CHECK_EQ(self->r, 64);
    CRT_AWAIT(self->r = crt_udp_send_many(cx, self->u, self->msg + 64, 6));
    CHECK_EQ(self->r, 6);
    for (self->i = 0; self->i < 70; self->i++) CHECK_EQ(self->msg[self->i].len, self->msg[self->i].size);
    memset(self->bufs, 0, sizeof self->bufs);
    for (self->i = 0; self->i < 80; self->i++)
        self->msg[self->i] = (crt_udp_msg){.buf = self->bufs[self->i], .size = 6, .flags = 99};
    for (self->n = 0; self->n < 70; self->n += (size_t)self->r) {
        CRT_AWAIT(self->r = crt_udp_recv_many(cx, self->v, self->msg + self->n, 80 - self->n));
        CHECK(self->r > 0);
        if (self->r <= 0) break;
    }
    CHECK_EQ(self->n, 70);
    for (self->i = 0; self->i < 70; self->i++) {
        snprintf(self->text, sizeof self->text, "%d%s", self->i, self->i == 5 ? " is longer" : "");
        CHECK_EQ(self->msg[self->i].len, crt__min(strlen(self->text), 6));
        CHECK(!memcmp(self->bufs[self->i], self->text, self->msg[self->i].len));
        CHECK_EQ(self->msg[self->i].flags, self->i == 5 ? CRT_UDP_TRUNCATED : 0);
        CHECK(crt_addr_equal(&self->msg[self->i].addr, &self->addr));
    }
    CHECK_EQ(crt_udp_try_recv_many(self->v, self->msg, 3), CRT_EAGAIN);
    CRT_AWAIT(self->r = crt_udp_recv_many(cx, self->v, self->msg, 0));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_udp_recv_many(cx, self->v, NULL, 3));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(2), crt_udp_recv_many(cx, self->v, self->msg, 3)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
#ifndef _WIN32   // there, it is always so
    // Where the system has no such call: one by one, the same results.
    self->msg[0] = (crt_udp_msg){.buf = "one", .size = 3, .addr = self->peer};
    self->msg[1] = (crt_udp_msg){.buf = "", .size = 0, .addr = self->peer};
    self->msg[2] = (crt_udp_msg){.buf = self->bufs, .size = 3, .addr.len = 999};
    CHECK_EQ(crt__datagrams_singly(crt_udp_fd(self->u), true, self->msg, 3), 2);
    for (self->i = 0; self->i < 3; self->i++) self->msg[self->i] = (crt_udp_msg){.buf = self->bufs[self->i], .size = 2};
    CHECK_EQ(crt__datagrams_singly(crt_udp_fd(self->v), false, self->msg, 3), 2);
    CHECK(self->msg[0].len == 2 && self->msg[0].flags == CRT_UDP_TRUNCATED && self->msg[1].len == 0 && !self->msg[1].flags);
#endif
    // Fixed peers: batches without addresses, others are not heard, and freed again.
    CHECK_EQ(crt_peer_addr(self->u, &self->list[0]), -ENOTCONN);
    CRT_AWAIT(self->r = crt_udp_connect(cx, self->u, &self->peer));
    CHECK_EQ(crt_peer_addr(self->u, &self->list[0]), 0);
    CHECK(crt_addr_equal(&self->list[0], &self->peer));
    self->msg[0] = (crt_udp_msg){.buf = "a", .size = 1};
    self->msg[1] = (crt_udp_msg){.buf = "bc", .size = 2};
    CHECK_EQ(crt_udp_try_send_many(self->u, self->msg, 2), 2);
    CHECK_EQ(crt_udp_try_send_to(self->u, "def", 3, NULL), 3);
    for (self->i = 1; self->i < 4; self->i++) {
        CRT_AWAIT(self->r = crt_udp_recv(cx, self->v, self->buf, sizeof self->buf));
        CHECK_EQ(self->r, self->i);
    }
    CHECK_EQ(crt_udp_local_addr(self->u, &self->list[0]), 0);
    self->i = crt_addr_port(&self->list[0]);
    CHECK_EQ(crt_udp_disconnect(self->u), 0);
    CHECK_EQ(crt_peer_addr(self->u, &self->list[0]), -ENOTCONN);
    CHECK_EQ(crt_udp_local_addr(self->u, &self->list[0]), 0);
    CHECK(self->i != 0 && crt_addr_port(&self->list[0]) == self->i);
#ifndef WINE   // which sends it, who knows where
    CHECK_EQ(crt_udp_try_send_to(self->u, "x", 1, NULL), -EDESTADDRREQ);
#endif
    // An error of the first is told; the kept one can be taken.
    crt_close(&self->v);
    self->msg[0].addr = self->msg[1].addr = (crt_addr){.len = 3};
    CRT_AWAIT(self->r = crt_udp_send_many(cx, self->u, self->msg, 2));
    CHECK(self->r < 0 && self->r != CRT_EAGAIN);
    CRT_AWAIT(self->r = crt_udp_connect(cx, self->u, &self->peer));
    CHECK_EQ(crt_udp_try_send_to(self->u, "x", 1, NULL), 1);   // nobody there
#ifndef _WIN32   // crt has that switched off there: see crt__socket
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(5), crt_udp_readable(cx, self->u)));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_udp_take_error(self->u), -ECONNREFUSED);
    CHECK_EQ(crt_udp_take_error(self->u), 0);
#endif
    // Broadcast needs the option.
    CHECK_EQ(crt_addr_parse("127.255.255.255:9", &self->peer), 0);
    CHECK_EQ(crt_udp_disconnect(self->u), 0);
    CHECK_EQ(crt_udp_try_send_to(self->u, "x", 1, &self->peer), -EACCES);
    CHECK_EQ(crt_udp_set_broadcast(self->u, true), 0);
    CHECK_EQ(crt_udp_try_send_to(self->u, "x", 1, &self->peer), 1);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void udp(crt_runtime *rt) { run_root(rt, udp_run); }

// Both families, over the loopback interface. self->k: which.
static crt_poll multicast_run(void *frame, crt_cx *cx)
{
    static const struct { const char *any, *group; } family[] = {{"0.0.0.0:0", "239.255.77.7:0"}, {"[::]:0", "[ff11::77]:0"}};
    root *self = frame;
    CRT_BEGIN(self, cx);
    self->value = (int)crt__os_if_index(LOOPBACK);
    for (self->k = 0; self->k < 2; self->k++) {
        CRT_AWAIT(self->r = crt_udp_bind_ex(cx, family[self->k].any, &((crt_udp_desc){.multicast_ttl = 1}), &self->u));
        if (self->r == -EAFNOSUPPORT) continue;
        CHECK_EQ(self->r, 0);
        CRT_AWAIT(self->r = crt_udp_bind(cx, family[self->k].any, &self->v));
        CHECK_EQ(crt_addr_parse(family[self->k].group, &self->addr), 0);
        self->r = crt_udp_join(self->u, &self->addr, (uint32_t)self->value);
        if (self->r == -ENODEV || self->r == -EADDRNOTAVAIL || self->r == -ENOPROTOOPT) {   // no multicast in this place (wine)
            fprintf(stderr, "no multicast for %s: %s\n", family[self->k].group, crt_strerror((int)self->r));
            crt_close(&self->u);
            crt_close(&self->v);
            continue;
        }
        CHECK_EQ(self->r, 0);
        CHECK_EQ(crt_udp_join(self->u, &self->addr, (uint32_t)self->value), -EADDRINUSE);
        CHECK_EQ(crt_udp_set_multicast_interface(self->v, (uint32_t)self->value), 0);
        CHECK_EQ(crt_local_addr(self->u, &self->peer), 0);
        self->n = (size_t)crt_addr_port(&self->peer);
        snprintf(self->text, sizeof self->text, "%.*s:%d", (int)(strrchr(family[self->k].group, ':') - family[self->k].group),
                 family[self->k].group, (int)self->n);
        CHECK_EQ(crt_addr_parse(self->text, &self->peer), 0);
        CRT_AWAIT(self->r = crt_udp_send_to(cx, self->v, "all", 3, &self->peer));
        if (self->r == -ENETUNREACH) {
            fprintf(stderr, "no route for %s\n", family[self->k].group);
        } else {
            CHECK_EQ(self->r, 3);
            CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(5), crt_udp_recv(cx, self->u, self->buf, 9)));
            CHECK_EQ(self->r, 3);
        }
        // A member no more.
        CHECK_EQ(crt_udp_leave(self->u, &self->addr, (uint32_t)self->value), 0);
        CHECK_EQ(crt_udp_leave(self->u, &self->addr, (uint32_t)self->value), -EADDRNOTAVAIL);
        CHECK_EQ(crt_udp_join(self->u, NULL, 0), CRT_EINVAL);
        CHECK_EQ(crt_udp_set_multicast_interface(self->u, UINT32_MAX), CRT_EINVAL);
        CHECK(crt_udp_set_multicast_interface(self->u, INT_MAX) < 0);   // there is none of that number
        crt_close(&self->u);
        crt_close(&self->v);
    }
#ifndef _WIN32
    CHECK_EQ(crt_unix_dgram_pair(cx, &self->u, &self->v), 0);
    CHECK(crt_udp_join(self->u, &self->addr, 0) < 0);
    CHECK_EQ(crt_addr_unix("/tmp/x", &self->addr), 0);
    CHECK_EQ(crt_udp_join(self->u, &self->addr, 0), CRT_EINVAL);
    CHECK_EQ(crt_udp_set_multicast_interface(self->u, 1), -EOPNOTSUPP);
#endif
    CHECK_EQ(crt_udp_set_multicast_interface(NULL, 1), CRT_EINVAL);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void multicast(crt_runtime *rt) { run_root(rt, multicast_run); }

// ---- Unix sockets ----------------------------------------------------------

#ifndef _WIN32   // wine has none; Windows has streams, without modes, credentials and abstract names

static crt_poll unix_dgram_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    struct stat st;
    CRT_BEGIN(self, cx);
    snprintf(self->text, sizeof self->text, "%s/dgram", dir);
    CRT_AWAIT(self->r = crt_unix_dgram_connect(cx, self->text, &self->u));
    CHECK(self->r == -ENOENT && !self->u);
    CRT_AWAIT(self->r = crt_unix_dgram_connect(cx, "", &self->u));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_unix_dgram_bind(cx, "", NULL, &self->u));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_unix_dgram_bind(cx, self->text, &((crt_udp_desc){.mode = 0640, .recv_buffer = 10000}), &self->u));
    CHECK_EQ(self->r, 0);
    CHECK(!stat(self->text, &st) && (st.st_mode & 07777) == 0640);
    CHECK(crt_udp_get_recv_buffer(self->u) >= 10000);   // Linux doubles it
    // Between names: who sent it is told. Without one: it is not.
    if (CRT__UNIX_ABSTRACT) snprintf(self->buf, sizeof self->buf, "@crt-dgram-%d", (int)getpid());
    else snprintf(self->buf, sizeof self->buf, "%s/named", dir);
    CRT_AWAIT(self->r = crt_unix_dgram_bind(cx, self->buf, NULL, &self->v));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_addr_unix(self->text, &self->addr), 0);
    CRT_AWAIT(self->r = crt_udp_send_to(cx, self->v, "named", 5, &self->addr));
    CHECK_EQ(self->r, 5);
    CRT_AWAIT(self->r = crt_unix_dgram_connect(cx, self->text, &self->w));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_udp_send(cx, self->w, "unnamed", 7));
    CHECK_EQ(self->r, 7);
    CRT_AWAIT(self->r = crt_udp_recv_from(cx, self->u, self->bufs, sizeof self->bufs, &self->peer));
    CHECK_EQ(self->r, 5);
    CHECK(crt_addr_format(&self->peer, self->text + 100, 60) > 0 && !strcmp(self->text + 100, self->buf));
    CRT_AWAIT(self->r = crt_udp_send_to(cx, self->u, "answer", 6, &self->peer));
    CHECK_EQ(self->r, 6);
    CRT_AWAIT(self->r = crt_udp_recv(cx, self->v, self->bufs, 3));
    CHECK_EQ(self->r, 3);
    if (!CRT__UNIX_ABSTRACT) CHECK_EQ(unlink(self->buf), 0);
    CRT_AWAIT(self->r = crt_udp_recv_from(cx, self->u, self->bufs, sizeof self->bufs, &self->peer));
    CHECK_EQ(self->r, 7);
    CHECK(crt_addr_format(&self->peer, self->text + 100, 60) == 7 && !strcmp(self->text + 100, "unnamed"));
    // The file stays when it is closed: taken, unless one may remove what nobody serves.
    CRT_AWAIT(self->r = crt_unix_dgram_bind(cx, self->text, &((crt_udp_desc){.unlink_stale = true}), (crt_udp **)(void *)&self->a));
    CHECK_EQ(self->r, -EADDRINUSE);   // it is served
    crt_close(&self->u);
    CRT_AWAIT(self->r = crt_unix_dgram_bind(cx, self->text, NULL, &self->u));
    CHECK_EQ(self->r, -EADDRINUSE);
    CRT_AWAIT(self->r = crt_unix_dgram_bind(cx, self->text, &((crt_udp_desc){.unlink_stale = true}), &self->u));
    CHECK_EQ(self->r, 0);
    // A full receiver is waited for, by one who is connected and by one who names it.
    crt_close(&self->w);
    CRT_AWAIT(self->r = crt_unix_dgram_connect(cx, self->text, &self->w));
    for (self->i = 0; self->i < 2; self->i++) {
        for (self->k = 0; crt_udp_try_send_to(self->w, "fill", 4, NULL) == 4; self->k++) {}
        CHECK(self->k > 0);
        self->n = 5;   // the result may be the operand
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(7), self->i ? crt_udp_send_to(cx, self->v, "x", 1, &self->addr)
                                                                             : crt_udp_send(cx, self->w, "x", 1)));
        CHECK_EQ(self->r, CRT_ETIMEDOUT);
        self->x = 4;
        CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
            crt_on(cx, 0, self->x = self->i ? crt_udp_send_to(cx, self->v, "last", (size_t)self->x, &self->addr)
                                            : crt_udp_send(cx, self->w, "last", (size_t)self->x)),
            crt_on(cx, 1, self->y = crt_sleep(cx, CRT_MS(3)) == 0 ? crt_udp_try_recv_from(self->u, self->buf, 9, NULL) : CRT_PENDING)));
        CHECK_EQ(self->x, 4);
        CHECK_EQ(self->y, 4);
        while (crt_udp_try_recv_from(self->u, self->buf, 9, NULL) > 0) self->k--;
        CHECK_EQ(self->k, 0);   // one came out before, one went in
        CHECK(!memcmp(self->buf, "last", 4));
    }
    unlink(self->text);
    crt_close(&self->u);
    crt_close(&self->v);
    // A pair, with batches.
    CHECK_EQ(crt_unix_dgram_pair(cx, &self->u, &self->v), 0);
    self->msg[0] = (crt_udp_msg){.buf = "a", .size = 1};
    self->msg[1] = (crt_udp_msg){.buf = "bc", .size = 2};
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->x = crt_udp_recv(cx, self->v, self->buf, 9)),
        crt_on(cx, 1, self->y = crt_udp_send_many(cx, self->u, self->msg, 2))));
    CHECK(self->x == 1 && self->y == 2);
    self->msg[0] = (crt_udp_msg){.buf = self->buf, .size = 1};
    CRT_AWAIT(self->r = crt_udp_recv_many(cx, self->v, self->msg, 1));
    CHECK(self->r == 1 && self->msg[0].flags == CRT_UDP_TRUNCATED);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void unix_dgram(crt_runtime *rt) { run_root(rt, unix_dgram_run); }

static crt_poll unix_stream_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    struct stat st;
    CRT_BEGIN(self, cx);
    snprintf(self->text, sizeof self->text, "%s/stream", dir);
    self->listen = (crt_listen_desc){.mode = 0600, .unlink_stale = true, .send_buffer = 12000, .backlog = 3};
    CRT_AWAIT(self->r = crt_unix_listen(cx, self->text, &self->listen, &self->l));
    CHECK_EQ(self->r, 0);
    CHECK(!stat(self->text, &st) && S_ISSOCK(st.st_mode) && (st.st_mode & 07777) == 0600);
    CRT_AWAIT(self->r = crt_unix_listen(cx, self->text, &self->listen, &self->l2));
    CHECK_EQ(self->r, -EADDRINUSE);   // somebody listens
    CHECK_EQ(crt_try_accept(self->l, &self->b, NULL), 0);   // (he was asked)
    crt_close(&self->b);
    CHECK_EQ(crt_try_accept(self->l, &self->b, NULL), CRT_EAGAIN);
    CHECK_EQ(crt_try_accept(NULL, &self->b, NULL), CRT_EINVAL);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->x = crt_unix_connect(cx, self->text, &self->a)),
        crt_on(cx, 1, self->y = crt_accept(cx, self->l, &self->b, &self->peer))));
    CHECK(self->x == 0 && self->y == 0);
    CHECK(crt_addr_is_unix(&self->peer) && crt_addr_format(&self->peer, self->buf, sizeof self->buf) == 7);
    CHECK_EQ(crt_peer_addr(self->a, &self->addr), 0);
    CHECK(crt_addr_format(&self->addr, self->buf, sizeof self->buf) > 0 && !strcmp(self->buf, self->text));
    for (self->i = 0; self->i < 2; self->i++) {
        crt_peer_cred cred;
        CHECK_EQ(crt_unix_peer_cred(self->i ? self->a : self->b, &cred), 0);
        CHECK(cred.pid == getpid() && cred.uid == getuid() && cred.gid == getgid());
    }
    // A full backlog is waited for.
    for (self->k = 0; self->k < 64; self->k++) {
        const void *sa = crt_addr_sockaddr(&self->addr, &self->n);
        self->plain[self->k] = test_socket(AF_UNIX, SOCK_STREAM);
        if (connect(self->plain[self->k], sa, (socklen_t)self->n)) break;
    }
    CHECK_EQ(errno, EAGAIN);
    self->k++;
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_unix_connect(cx, self->text, &self->c)));
    CHECK(self->r == CRT_ETIMEDOUT && !self->c);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->x = crt_unix_connect(cx, self->text, &self->c)),
        crt_on(cx, 1, self->y = crt_sleep(cx, CRT_MS(3)) == 0 ? crt_try_accept(self->l, &self->d, NULL) : CRT_PENDING)));
    CHECK(self->x == 0 && self->y == 0 && self->c && self->d);
    drop_backlog(self);
    crt_close(&self->c);
    crt_close(&self->d);
    crt_close(&self->l);
    CRT_AWAIT(self->r = crt_unix_listen(cx, self->text, NULL, &self->l));
    CHECK_EQ(self->r, -EADDRINUSE);
    CRT_AWAIT(self->r = crt_unix_listen(cx, self->text, &self->listen, &self->l));
    CHECK_EQ(self->r, 0);
    unlink(self->text);
    // What is no socket is not removed.
    CHECK_EQ(mkdir(self->text, 0700), 0);
    CRT_AWAIT(self->r = crt_unix_listen(cx, self->text, &self->listen, &self->l2));
    CHECK_EQ(self->r, -EADDRINUSE);
    CHECK_EQ(rmdir(self->text), 0);
    CRT_AWAIT(self->r = crt_unix_listen(cx, self->text, &((crt_listen_desc){.mode = 010000}), &self->l2));
    CHECK_EQ(self->r, CRT_EINVAL);
    // No Unix socket, no credentials.
    LISTEN(self, cx, "127.0.0.1:0", NULL, &self->l2);
    crt_close(&self->a);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->x = (text_of(self->l2, self->text, sizeof self->text), crt_tcp_connect(cx, self->text, &self->a))),
        crt_on(cx, 1, self->y = crt_accept(cx, self->l2, &self->c, NULL))));
    CHECK_EQ(self->x, 0);
    crt_peer_cred cred;
    CHECK_EQ(crt_unix_peer_cred(self->a, &cred), -EOPNOTSUPP);
    CHECK_EQ(crt_unix_peer_cred(NULL, &cred), CRT_EINVAL);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void unix_stream(crt_runtime *rt) { run_root(rt, unix_stream_run); }

static crt_poll hasty_run(void *frame, crt_cx *cx)
{
    static const struct { int error, nameless; } cases[] = {
        {0, 0}, {EINTR, 0}, {EINTR, ENOTCONN}, {EINPROGRESS, EINVAL}};
    root *self = frame;
    CRT_BEGIN(self, cx);
    snprintf(self->text, sizeof self->text, "%s/hasty", dir);
    self->listen.unlink_stale = true;
    CRT_AWAIT(self->r = crt_unix_listen(cx, self->text, &self->listen, &self->l));
    CHECK_EQ(self->r, 0);
    for (self->i = 0; self->i < 4; self->i++) {
        hasty = (int)crt_listener_fd(self->l);
        hasty_error = cases[self->i].error;
        nameless = cases[self->i].nameless;
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(2), crt_unix_connect(cx, self->text, &self->a)));
        hasty = -1;
        nameless = 0;
        CHECK_EQ(self->r, 0);
        if (self->r) CRT_RETURN(self->r);
        CRT_AWAIT(self->r = crt_read_exact(cx, self->a, self->buf, 5));
        CHECK(self->r == 5 && !memcmp(self->buf, "hello", 5));
        CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 5));
        CHECK_EQ(self->r, 0);
        crt_close(&self->a);
    }
#ifdef __linux__   // elsewhere it may be an end like any other
    hasty = (int)crt_listener_fd(self->l);
    hasty_error = EINTR;
    nameless = ENOTCONN;
    breaks = 1;
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(2), crt_unix_connect(cx, self->text, &self->a)));
    CHECK(self->r == -ECONNRESET && !self->a);
    self->r = 0;
#endif
    CRT_FINALLY
        breaks = 0;
        hasty = -1;
        nameless = 0;
        unlink(self->text);
        close_all(self);
    CRT_END;
}
static void a_server_that_answers_and_closes_at_once_was_connected(crt_runtime *rt) { run_root(rt, hasty_run); }

static crt_poll gone_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    snprintf(self->text, sizeof self->text, "%s/gone", dir);
    self->listen.unlink_stale = true;
    CRT_AWAIT(self->r = crt_unix_listen(cx, self->text, &self->listen, &self->l));
    CHECK(self->r == 0 && crt_local_addr(self->l, &self->addr) == 0);
    self->fd = test_socket(AF_UNIX, SOCK_STREAM);
    const void *sa = crt_addr_sockaddr(&self->addr, &self->n);
    CHECK(connect(self->fd, sa, (socklen_t)self->n) == 0 && write(self->fd, "request", 7) == 7);
    close(self->fd);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(2), crt_accept(cx, self->l, &self->a, NULL)));
    CHECK_EQ(self->r, 0);
    if (self->r) CRT_RETURN(self->r);
    CRT_AWAIT(self->r = crt_read_exact(cx, self->a, self->buf, 7));
    CHECK(self->r == 7 && !memcmp(self->buf, "request", 7));
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 7));
    CHECK_EQ(self->r, 0);
    CRT_FINALLY
        unlink(self->text);
        close_all(self);
    CRT_END;
}
static void a_client_that_has_closed_is_accepted(crt_runtime *rt) { run_root(rt, gone_run); }

static crt_poll cred_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    for (self->i = 0; self->i < 2; self->i++) {
        crt_peer_cred cred;
        CHECK_EQ(crt_unix_peer_cred(self->i ? self->a : self->b, &cred), 0);
        CHECK(cred.pid == getpid() && cred.uid == geteuid() && cred.gid == getegid());
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void the_ends_of_a_pair_are_this_process(crt_runtime *rt) { run_root(rt, cred_run); }
#endif

// ---- addresses, half-close -------------------------------------------------

static void addresses(void)
{
    crt_addr a, b;
    char text[140], back[140];
    size_t n;
    struct sockaddr_storage foreign;
    // Scopes by number and by name.
    CHECK_EQ(crt_addr_parse("[fe80::1%7]:80", &a), 0);
    CHECK(crt_addr_is_ipv6(&a) && !crt_addr_is_unix(&a));
    CHECK(crt_addr_format(&a, text, sizeof text) > 0 && !strcmp(text, "[fe80::1%7]:80"));
    CHECK_EQ(crt_addr_parse("[fe80::1]:80", &b), 0);
    CHECK(!crt_addr_equal(&a, &b));
#ifndef WINE   // its interfaces have no such names
    CHECK_EQ(crt_addr_parse("[fe80::1%" LOOPBACK "]:80", &a), 0);
    char scope[64];
    snprintf(scope, sizeof scope, "[fe80::1%%%u]:80", crt__os_if_index(LOOPBACK));
    CHECK(crt_addr_format(&a, text, sizeof text) > 0 && !strcmp(text, scope));
#endif
    // What fails leaves nothing behind.
    static const char *const bad[] = {"", ":80", "1.2.3.4", "1.2.3.4:", "1.2.3.4:99999", "1.2.3.4:-1", "1.2.3.4: 80", "1.2.3.4:80 ",
        "1.2.3:80", "1.2.3.4.5:80", "256.1.1.1:80", "[::1%]:80", "[::1%nothing]:80", "[::1", "localhost:80", "[*]:80", "1.2.3.4%1:80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memset(&a, 1, sizeof a);
        CHECK_EQ(crt_addr_parse(bad[i], &a), CRT_EINVAL);
        CHECK(a.len == 0 && crt_addr_port(&a) == 0 && crt_addr_format(&a, text, sizeof text) == CRT_EINVAL);
    }
    // Unix: paths and abstract names, as long as they may be and one longer.
    memset(text, 'x', sizeof text);
    const size_t room = sizeof(((struct sockaddr_un *)0)->sun_path);   // 108 on Linux, 104 on the BSDs
    for (int abstract = 0; abstract < 1 + CRT__UNIX_ABSTRACT; abstract++) {
        text[0] = abstract ? '@' : '/';
        text[room - 1] = 0;
        CHECK_EQ(crt_addr_unix(text, &a), 0);
        CHECK_EQ(crt_addr_format(&a, back, sizeof back), room - 1);
        CHECK(!strcmp(text, back));
        CHECK_EQ(crt_addr_format(&a, back, room - 1), CRT_EINVAL);
        CHECK_EQ(crt_addr_format(&a, back, room), room - 1);
        CHECK_EQ(crt_addr_port(&a), 0);
        text[room - 1] = 'x';
        text[room] = 0;
        CHECK_EQ(crt_addr_unix(text, &a), CRT_EINVAL);
    }
    CHECK_EQ(crt_addr_unix("", &a), CRT_EINVAL);
    CHECK_EQ(crt_addr_unix("@", &a), CRT_EINVAL);   // that would bind to a name of the system's choice
    CHECK_EQ(crt_addr_unix(NULL, &a), CRT_EINVAL);
    // To foreign code and back.
    CHECK_EQ(crt_addr_parse("[::1]:9", &a), 0);
    const void *sa = crt_addr_sockaddr(&a, &n);
    CHECK_EQ(n, sizeof(struct sockaddr_in6));
    memset(&foreign, 0, sizeof foreign);
    memcpy(&foreign, sa, n);
    CHECK_EQ(crt_addr_from_sockaddr(&b, &foreign, n), 0);
    CHECK(crt_addr_equal(&a, &b));
    CHECK_EQ(crt_addr_from_sockaddr(&b, &foreign, n - 1), CRT_EINVAL);
    CHECK_EQ(b.len, 0);
    CHECK_EQ(crt_addr_from_sockaddr(&b, &foreign, 0), CRT_EINVAL);
    CHECK_EQ(crt_addr_from_sockaddr(&b, NULL, n), CRT_EINVAL);
    CHECK_EQ(crt_addr_from_sockaddr(&b, &foreign, 129), CRT_EINVAL);
    foreign.ss_family = AF_INET;
    CHECK_EQ(crt_addr_from_sockaddr(&b, &foreign, 15), CRT_EINVAL);
    foreign.ss_family = AF_UNSPEC;
    CHECK_EQ(crt_addr_from_sockaddr(&b, &foreign, 28), CRT_EINVAL);
    foreign.ss_family = AF_UNIX;
    CHECK_EQ(crt_addr_from_sockaddr(&b, &foreign, 2), 0);
    CHECK(crt_addr_format(&b, back, sizeof back) == 7 && !strcmp(back, "unnamed"));
    CHECK_EQ(crt_addr_from_sockaddr(&b, &foreign, 111), CRT_EINVAL);
    // An abstract name may hold anything, NULs too.
    memcpy((char *)&foreign + 2, "\0a\0b", 4);
    CHECK_EQ(crt_addr_from_sockaddr(&b, &foreign, 6), 0);
    if (CRT__UNIX_ABSTRACT) CHECK(crt_addr_format(&b, back, sizeof back) == 4 && !strcmp(back, "@a@b"));
    CHECK_EQ(crt_addr_format(&b, NULL, 5), CRT_EINVAL);
    CHECK_EQ(crt_addr_format(NULL, back, 5), CRT_EINVAL);
    CHECK_EQ(crt_addr_format(&b, NULL, 0), CRT_EINVAL);
    CHECK(crt_addr_parse("1.2.3.4:5", &a) == 0 && crt_addr_parse("1.2.3.4:6", &b) == 0 && !crt_addr_equal(&a, &b));
}

static crt_poll half_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    LISTEN(self, cx, "127.0.0.1:0", NULL, &self->l);
    MEET(self, cx);
    CHECK_EQ(crt_try_accept(self->l, &self->c, NULL), CRT_EAGAIN);
    // We say no more, and still hear; then the other way round.
    CRT_AWAIT(self->r = crt_write_all(cx, self->a, "last words", 10));
    CRT_AWAIT(self->r = crt_shutdown(cx, self->a));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_read_exact(cx, self->b, self->buf, 10));
    CRT_AWAIT(self->r = crt_read(cx, self->b, self->buf, 10));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_write_all(cx, self->a, "x", 1));
    CHECK_EQ(self->r, -EPIPE);
    CRT_AWAIT(self->r = crt_write_all(cx, self->b, "answer", 6));
    CRT_AWAIT(self->r = crt_read_exact(cx, self->a, self->buf, 6));
    CHECK_EQ(self->r, 6);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->x = crt_read(cx, self->a, self->buf, 6)),
        crt_on(cx, 1, self->y = crt_sleep(cx, CRT_MS(1)) == 0 ? crt_shutdown_read(cx, self->a) : CRT_PENDING)));
    CHECK(self->x == 0 && self->y == 0);
    CRT_AWAIT(self->r = crt_shutdown_read(cx, NULL));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void half_closed(crt_runtime *rt) { run_root(rt, half_run); }

// A direction that has ended is no hang-up, whichever it is; both are.
static crt_poll halves_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    LISTEN(self, cx, "127.0.0.1:0", NULL, &self->l);
    for (self->i = 0; self->i < 2; self->i++) {
        if (self->i) CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
        else MEET(self, cx);
        self->fd = (int)crt_stream_fd(self->a);
        self->fd2 = (int)crt_stream_fd(self->b);
        // Waited for while this end ends, and after.
        CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
            crt_on(cx, 0, self->x = crt_timeout(cx, &self->timer, CRT_MS(8), crt_fd_ready(cx, self->fd, 0))),
            crt_on(cx, 1, self->y = crt_sleep(cx, CRT_MS(1)) == 0 ? crt_shutdown(cx, self->a) : CRT_PENDING)));
        CHECK(self->x == CRT_ETIMEDOUT && self->y == 0);
        for (self->k = 0; self->k < 2; self->k++) {
            CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(3),
                                            crt_fd_ready(cx, self->fd, self->k ? CRT_FD_READ : 0)));
            CHECK_EQ(self->r, CRT_ETIMEDOUT);
        }
#ifndef _WIN32
        CRT_AWAIT(self->r = crt_fd_ready(cx, self->fd, CRT_FD_READ | CRT_FD_WRITE));   // it would not wait
        CHECK_EQ(self->r, CRT_FD_WRITE);
#endif
        CRT_AWAIT(self->r = crt_fd_ready(cx, self->fd2, CRT_FD_READ));
        CHECK_EQ(self->r, CRT_FD_READ);
        CRT_AWAIT(self->r = crt_fd_ready(cx, self->fd2, CRT_FD_READ | CRT_FD_WRITE));
        CHECK_EQ(self->r, CRT_FD_READ | CRT_FD_WRITE);
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(3), crt_fd_ready(cx, self->fd2, 0)));
        CHECK_EQ(self->r, CRT_ETIMEDOUT);
        CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
            crt_on(cx, 0, self->x = crt_fd_ready(cx, self->fd, CRT_FD_READ)),
            crt_on(cx, 1, self->y = crt_sleep(cx, CRT_MS(1)) == 0 ? crt_try_write(self->b, "!", 1) : CRT_PENDING)));
        CHECK(self->x == CRT_FD_READ && self->y == 1);
        CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 1));
        CHECK_EQ(self->r, 1);
#ifndef _WIN32   // where only a reset tells of itself unasked
        CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
            crt_on(cx, 0, self->x = crt_timeout(cx, &self->timer, CRT_SEC(5), crt_fd_ready(cx, self->fd, 0))),
            crt_on(cx, 1, self->y = crt_sleep(cx, CRT_MS(1)) == 0 ? crt_shutdown(cx, self->b) : CRT_PENDING)));
        CHECK(self->x == CRT_FD_HANGUP && self->y == 0);
        CRT_AWAIT(self->r = crt_fd_ready(cx, self->fd, CRT_FD_READ));
        CHECK_EQ(self->r, CRT_FD_READ | CRT_FD_HANGUP);
#endif
        crt_close(&self->a);
        crt_close(&self->b);
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void a_hang_up_is_the_end_of_both_directions(crt_runtime *rt) { run_root(rt, halves_run); }

// ---- defence ---------------------------------------------------------------

// The pattern at crt_accept: never more than three at a time, however many come, and
// all are served in the end.
enum { LIMIT = 3, CLIENTS = 24 };
static crt_semaphore limit;
static int inside, inside_most, served;   // atomic
typedef struct conn {
    crt_frame co;
    crt_stream *s;
    char buf[8];
    crt_poll n;
} conn;
static crt_poll conn_run(void *frame, crt_cx *cx)
{
    conn *self = frame;
    CRT_BEGIN(self, cx);
    int now = __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST), most = __atomic_load_n(&inside_most, __ATOMIC_SEQ_CST);
    while (now > most && !__atomic_compare_exchange_n(&inside_most, &most, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {}
    CRT_AWAIT(self->n = crt_read_exact(cx, self->s, self->buf, 4));
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CRT_AWAIT(self->n = crt_write_all(cx, self->s, self->buf, 4));
    __atomic_add_fetch(&served, 1, __ATOMIC_SEQ_CST);
    __atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
    CRT_FINALLY
        crt_close(&self->s);
        crt_semaphore_release(&limit, 1);
    CRT_END;
}
typedef struct acceptor {
    crt_frame co;
    crt_listener *l;   // borrowed
    crt_stream *s;
    bool holds;
    crt_poll r;
} acceptor;
static crt_poll acceptor_run(void *frame, crt_cx *cx)
{
    acceptor *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = crt_semaphore_acquire(cx, &limit, 1));
        if (self->r < 0) CRT_RETURN(self->r);
        self->holds = true;
        CRT_AWAIT(self->r = crt_accept(cx, self->l, &self->s, NULL));
        if (self->r < 0) CRT_RETURN(self->r);
        if (crt_spawn(cx, conn_run, &(conn){.s = self->s}) < 0) {
            crt_close(&self->s);
            crt_semaphore_release(&limit, 1);
        }
        self->s = NULL;
        self->holds = false;
    }
    CRT_FINALLY
        if (self->holds) crt_semaphore_release(&limit, 1);
    CRT_END;
}
typedef struct client {
    crt_frame co;
    const char *at;
    crt_stream *s;
    char buf[8];
    crt_poll r;
} client;
static crt_poll client_run(void *frame, crt_cx *cx)
{
    client *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_connect(cx, self->at, &self->s));
    if (self->r < 0) CRT_RETURN(self->r);
    CRT_AWAIT(self->r = crt_write_all(cx, self->s, "ping", 4));
    CRT_AWAIT(self->r = crt_read_exact(cx, self->s, self->buf, 4));
    CRT_RETURN(self->r);
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
static crt_poll limited_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    inside = inside_most = served = 0;
    crt_semaphore_init(&limit, LIMIT);
    LISTEN(self, cx, "127.0.0.1:0", NULL, &self->l);
    text_of(self->l, self->text, sizeof self->text);
    for (self->i = 0; self->i < 2; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], acceptor_run, &(acceptor){.l = self->l}), 0);
    for (self->k = 0; self->k < CLIENTS / 8; self->k++) {
        for (self->i = 2; self->i < 10; self->i++)
            CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], client_run, &(client){.at = self->text}), 0);
        for (self->i = 2; self->i < 10; self->i++) {
            CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], &self->result));
            CHECK(self->r == 0 && self->result == 4);
        }
    }
    for (self->i = 0; self->i < 2; self->i++) {
        crt_abort(self->join[self->i]);
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        CHECK_EQ(self->r, CRT_ECANCELED);
    }
    WAIT_UNTIL(crt_semaphore_available(&limit) == LIMIT);   // every permit came back
    CHECK_EQ(served, CLIENTS);
    CHECK(inside_most <= LIMIT);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void limited(crt_runtime *rt) { run_root(rt, limited_run); }

#ifndef _WIN32   // no limit of descriptors can be set there
// Out of descriptors with several acceptors: nobody spins, everybody is served once
// there are some again.
static crt_poll starved_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    struct rlimit r;
    struct timespec cpu;
    CRT_BEGIN(self, cx);
    inside = inside_most = served = 0;
    test_log_clear();
    crt_semaphore_init(&limit, 1000);
    LISTEN(self, cx, "127.0.0.1:0", NULL, &self->l);
    CHECK_EQ(crt_local_addr(self->l, &self->addr), 0);
    for (self->k = 0; self->k < 10; self->k++) self->plain[self->k] = socket(AF_INET, SOCK_STREAM | TEST_CLOEXEC, 0);
    // From here on there is no descriptor to be had.
    getrlimit(RLIMIT_NOFILE, &r);
    self->n = (size_t)r.rlim_cur;
    r.rlim_cur = (rlim_t)self->plain[9];
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &r), 0);
    while (self->k < 64 && (self->plain[self->k] = fcntl(self->plain[0], F_DUPFD_CLOEXEC, 0)) >= 0) self->k++;   // no hole
    // Started only now: accept4() holds a descriptor while it finds that nobody waits, and would leave a hole.
    for (self->i = 0; self->i < 4; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], acceptor_run, &(acceptor){.l = self->l}), 0);
    for (self->i = 0; self->i < 10; self->i++) {
        CHECK_EQ(connect(self->plain[self->i], (struct sockaddr *)(void *)self->addr.u.bytes, self->addr.len), 0);
        CHECK_EQ(send(self->plain[self->i], "ping", 4, 0), 4);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    self->since = cpu.tv_sec * 1000000000 + cpu.tv_nsec;
    CRT_AWAIT(crt_sleep(cx, CRT_MS(60)));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    CHECK(cpu.tv_sec * 1000000000 + cpu.tv_nsec - self->since < CRT_MS(40));
#ifndef KQUEUE_SHIM_SYS_EVENT_H   // whose own descriptors come and go, and may leave a hole
    CHECK_EQ(__atomic_load_n(&served, __ATOMIC_SEQ_CST), 0);
#endif
    getrlimit(RLIMIT_NOFILE, &r);
    r.rlim_cur = (rlim_t)self->n;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &r), 0);
    WAIT_UNTIL(__atomic_load_n(&served, __ATOMIC_SEQ_CST) == 10);
    for (self->i = 0; self->i < 10; self->i++) CHECK_EQ(recv(self->plain[self->i], self->buf, 9, 0), 4);
    for (self->i = 0; self->i < 4; self->i++) {
        crt_abort(self->join[self->i]);
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
    }
    WAIT_UNTIL(crt_semaphore_available(&limit) == 1000);
    CHECK(test_log_has(strerror(EMFILE)));
    CRT_FINALLY
        drop_backlog(self);
        close_all(self);
    CRT_END;
}
static void starved(crt_runtime *rt) { run_root(rt, starved_run); }
#endif

int main(int argc, char **argv)
{
    test_init(argc, argv);
    if (test_directory(dir, sizeof dir)) return perror(dir), 1;
    TEST_ON_EACH(stream_options);
    TEST_ON_EACH(listener_options);
#ifdef __linux__
    TEST_ON_EACH(a_read_stops_at_descriptors);
    TEST_ON_EACH(a_read_stops_at_urgent_data);
#endif
    TEST_ON_EACH(peek);
    TEST_ON_EACH(vectored);
    TEST(race);
    TEST(order);
    TEST_ON_EACH(late);
    TEST(aborted);
    TEST_ON_EACH_WITH(gate, .max_blocking_threads = 3, .max_lookups = 2);
    TEST_ON_EACH_WITH(gate_at_the_end, .max_blocking_threads = 1, .log.func = test_log);
    TEST_ON_EACH_WITH(gate_left_behind, .max_lookups = 1, .log.func = test_log);
    TEST(threadless);
    TEST(lookup_limits);
    TEST_ON_EACH(pipes);
    TEST_ON_EACH_WITH(adopted, .log.func = test_log);
    TEST_ON_EACH(ready);
    TEST_ON_EACH(udp);
    TEST_ON_EACH(multicast);
#ifndef _WIN32
    TEST_ON_EACH(unix_dgram);
    TEST_ON_EACH(unix_stream);
    TEST_ON_EACH(a_server_that_answers_and_closes_at_once_was_connected);
    TEST_ON_EACH(a_client_that_has_closed_is_accepted);
    TEST_ON_EACH(the_ends_of_a_pair_are_this_process);
#endif
    TEST(addresses);
    TEST_ON_EACH(half_closed);
    TEST_ON_EACH(a_hang_up_is_the_end_of_both_directions);
    TEST_ON_EACH(limited);
#ifndef _WIN32
    TEST_ON_EACH_WITH(starved, .log.func = test_log);
#endif
    rmdir(dir);
    return test_end();
}
