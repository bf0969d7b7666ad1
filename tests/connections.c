// connections.c: very many connections that are mostly idle.
//
//   connections serve PORT [WORKERS]             an echo server on crt; several share a port
//   connections hold PORT N SECONDS [INDEX]      opens N connections, each with an echo at
//                                                once, one each 10 s, and one at the end
//
// The server owns no buffer for a connection that is idle: it waits for readability and
// reads into a buffer of the poll. The client binds to many addresses of the loopback
// network, since one has 28,000 ports only; INDEX keeps several clients apart. Ends with
// "N passed, N failed" (connections). Driven by connections.sh.
#define CRT_IMPLEMENTATION
#include "crt.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

static void raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit)) return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

// --- the server

typedef struct conn {
    crt_frame co;
    crt_stream *s;
    crt_poll n;
} conn;
static crt_poll conn_run(void *frame, crt_cx *cx)
{
    conn *self = frame;
    char buf[4096];   // used within one poll only
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->n = crt_readable(cx, self->s));
        if (self->n < 0) CRT_RETURN(0);
        self->n = crt_try_read(self->s, buf, sizeof buf);
        if (self->n == CRT_EAGAIN) continue;
        if (self->n <= 0 || crt_try_write(self->s, buf, (size_t)self->n) != self->n) CRT_RETURN(0);
    }
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
typedef struct server {
    crt_frame co;
    char addr[32];
    crt_listener *l;
    crt_stream *s;
    CRT_SELECT(2) sel;
    crt_poll r, w;
} server;
static crt_poll server_run(void *frame, crt_cx *cx)
{
    server *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, self->addr, &(crt_listen_desc){.reuseport = true, .backlog = 4096}, &self->l));
    if (self->r < 0) CRT_RETURN(self->r);
    puts("ready");
    fflush(stdout);
    for (;;) {
        CRT_AWAIT(self->w = crt_select(cx, &self->sel,
            crt_on(cx, 0, self->r = crt_accept(cx, self->l, &self->s, NULL)),
            crt_on(cx, 1, crt_ctrl_c(cx))));
        if (self->w != 0) CRT_RETURN(0);
        if (self->r < 0) CRT_RETURN(self->r);
        if (crt_spawn(cx, conn_run, &(conn){.s = self->s}) < 0) crt_close(&self->s);
    }
    CRT_FINALLY
        crt_close(&self->l);
    CRT_END;
}
static int serve(const char *port, int workers)
{
    crt_runtime *rt;
    server s = {0};
    snprintf(s.addr, sizeof s.addr, "127.0.0.1:%s", port);
    if (crt_runtime_new(&(crt_config){.worker_threads = workers}, &rt)) return 1;
    crt_poll r = crt_block_on(rt, server_run, &s);
    crt_runtime_drop(&rt);
    if (r < 0) fprintf(stderr, "serve: %s\n", crt_strerror((int)r));
    return r < 0;
}

// --- the client: one thread, plain epoll

enum { BYTES = 32, EVERY_MS = 10000 };
typedef struct client {
    int fd, back;            // bytes of the message under way that have come back
    uint32_t serial;         // messages sent
    bool open, waiting;
    int64_t due;             // when the next is sent, ms
} client;
static client *clients;
static int n_clients, open_now, failed, ep;
static long echoed;

static int64_t now_ms(void) { return crt__clock() / 1000000; }
static void message(const client *c, unsigned char *out)
{
    uint64_t x = (uint64_t)(c - clients) * 0x9E3779B97F4A7C15u ^ c->serial * 0xbf58476d1ce4e5b9u;
    for (int i = 0; i < BYTES; i++, x = x * 6364136223846793005u + 1442695040888963407u) out[i] = (unsigned char)(x >> 56);
}
static void lose(client *c, const char *why)
{
    if (failed++ < 5) fprintf(stderr, "connection %d: %s: %s\n", (int)(c - clients), why, strerror(errno));
    close(c->fd);
    open_now -= c->open;
    c->open = c->waiting = false;
    c->fd = -1;
}
static void say(client *c)
{
    unsigned char out[BYTES];
    c->serial++;
    c->back = 0;
    c->waiting = true;
    message(c, out);
    if (send(c->fd, out, BYTES, MSG_NOSIGNAL) != BYTES) lose(c, "send");
}
static void dial(client *c, const struct sockaddr_in *to, int index)
{
    int one = 1, i = (int)(c - clients);
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(0x7f000000u | (uint32_t)(1 + index) << 16 | (uint32_t)(1 + i / 4000));
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        lose(c, "socket");
        return;
    }
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from) ||
        (connect(c->fd, (const struct sockaddr *)to, sizeof *to) && errno != EINPROGRESS)) {
        lose(c, "connect");
        return;
    }
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = (uint32_t)i};
    if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e)) lose(c, "epoll_ctl");
}
static void event(client *c, uint32_t events, int64_t now)
{
    unsigned char in[BYTES + 1], want[BYTES];
    if (c->fd < 0) return;
    if (events & (EPOLLERR | EPOLLHUP)) {
        lose(c, "hang-up");
        return;
    }
    if (!c->open && (events & EPOLLOUT)) {
        c->open = true;
        open_now++;
        c->due = now + EVERY_MS / 2 + rand() % EVERY_MS;
        say(c);
    }
    while (c->open && (events & EPOLLIN)) {
        ssize_t k = recv(c->fd, in, sizeof in, 0);
        if (k < 0 && errno == EAGAIN) return;
        message(c, want);
        if (k <= 0 || !c->waiting || c->back + k > BYTES || memcmp(in, want + c->back, (size_t)k)) {
            lose(c, k == 0 ? "closed" : "wrong bytes");
            return;
        }
        c->back += (int)k;
        if (c->back == BYTES) {
            c->waiting = false;
            echoed++;
        }
    }
}
static void wait_events(int ms)
{
    struct epoll_event events[256];
    int n = epoll_wait(ep, events, 256, ms);
    for (int i = 0; i < n; i++) event(&clients[events[i].data.u32], events[i].events, now_ms());
}
// Until nobody waits for an echo; false after 30 s without progress.
static bool settle(void)
{
    int64_t last = now_ms();
    for (long before = -1;;) {
        int waiting = 0;
        for (int i = 0; i < n_clients; i++) waiting += clients[i].fd >= 0 && (clients[i].waiting || !clients[i].open);
        if (!waiting) return true;
        if (echoed != before) last = now_ms();
        if (now_ms() - last > 30000) return false;
        before = echoed;
        wait_events(100);
    }
}
static int hold(int port, int n, int seconds, int index)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    raise_limit();
    n_clients = n;
    clients = calloc((size_t)n, sizeof *clients);
    ep = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || ep < 0) return 1;
    for (int i = 0; i < n; i++) {
        dial(&clients[i], &to, index);
        if (i % 64 == 63) wait_events(0);
        while (i - open_now - failed > 1000) wait_events(10);   // no more than the backlog takes
    }
    bool ok = settle();
    int most = open_now;
    printf("open %d\n", open_now);
    fflush(stdout);
    for (int64_t end = now_ms() + seconds * 1000, now; (now = now_ms()) < end;) {
        for (int i = 0; i < n; i++)
            if (clients[i].open && !clients[i].waiting && clients[i].due <= now) {
                clients[i].due = now + EVERY_MS;
                say(&clients[i]);
            }
        wait_events(50);
    }
    ok = settle() && ok;
    for (int i = 0; i < n; i++)
        if (clients[i].open) say(&clients[i]);
    ok = settle() && ok;
    printf("%d connections for %d s, %ld echoes, %d still open\n", most, seconds, echoed, open_now);
    printf("%d passed, %d failed\n", open_now, n - open_now + !ok);
    return open_now != n || !ok;
}

int main(int argc, char **argv)
{
    if (argc >= 3 && !strcmp(argv[1], "serve")) {
        raise_limit();
        return serve(argv[2], argc > 3 ? atoi(argv[3]) : 0);
    }
    if (argc >= 5 && !strcmp(argv[1], "hold"))
        return hold(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]), argc > 5 ? atoi(argv[5]) : 0);
    fprintf(stderr, "usage: connections serve PORT [WORKERS] | hold PORT N SECONDS [INDEX]\n");
    return 2;
}
