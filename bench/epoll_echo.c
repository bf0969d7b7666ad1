// The practical limit: one thread, bare edge-triggered epoll, no runtime at all.
//
//   epoll_echo serve_echo|serve_http [port=0] [life=600]
//
// serve_echo sends back what it reads; serve_http answers each complete request head. Port 0 takes any free
// one; the address is printed when it is ready. It ends by itself after `life` seconds, so that a forgotten
// server does not stay.
#include "http_answer.h"
#include "meter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { BUFFER = HTTP_BUFFER };

// An idle connection owns this and no buffer: `out` exists while the peer does not take its answers,
// `head` while a request head is incomplete.
typedef struct conn {
    int fd;
    char *out;
    size_t out_at, out_len;
    char *head;
    size_t head_len;
} conn;

static bool http;

static void conn_free(conn *c)
{
    close(c->fd);
    free(c->out);
    free(c->head);
    free(c);
}

// Appends to what waits to be sent.
static bool conn_keep(conn *c, const char *data, size_t n)
{
    char *out = realloc(c->out, c->out_len + n);
    if (!out) return false;
    memcpy(out + c->out_len, data, n);
    c->out = out;
    c->out_len += n;
    return true;
}

// Sends what the socket takes and keeps the rest. False: the connection is broken.
static bool conn_send(conn *c, const char *data, size_t n)
{
    ssize_t sent = send(c->fd, data, n, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return false;
    if (sent < 0) sent = 0;
    return (size_t)sent == n || conn_keep(c, data + sent, n - (size_t)sent);
}

static bool conn_flush(conn *c)
{
    while (c->out) {
        ssize_t sent = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);
        if (sent < 0) return errno == EAGAIN;
        c->out_at += (size_t)sent;
        if (c->out_at == c->out_len) {
            free(c->out);
            c->out = NULL;
            c->out_at = c->out_len = 0;
        }
    }
    return true;
}

// Answers each complete head in buf[0..n) and keeps what follows the last one.
static bool conn_answer(conn *c, char *buf, size_t n)
{
    static char out[HTTP_BUFFER];
    do {
        size_t used, size = http_answer(buf, n, out, &used);
        if (size == 0) break;
        buf += used;
        n -= used;
        if (c->out ? !conn_keep(c, out, size) : !conn_send(c, out, size)) return false;
    } while (n);
    c->head_len = n;
    if (n == BUFFER) return false;   // a head larger than the buffer
    if (n && !c->head && !(c->head = malloc(BUFFER))) return false;
    if (n) memcpy(c->head, buf, n);
    return true;
}

// Reads until the socket is empty. While answers wait to be sent nothing is read: a peer that does not
// read its answers is not served. False: close the connection.
static bool conn_read(conn *c)
{
    static char buf[BUFFER];
    while (!c->out) {
        size_t have = c->head_len;
        if (have) memcpy(buf, c->head, have);
        ssize_t n = recv(c->fd, buf + have, sizeof buf - have, 0);
        if (n < 0) return errno == EAGAIN;
        if (n == 0) return false;
        if (!(http ? conn_answer(c, buf, have + (size_t)n) : conn_send(c, buf, (size_t)n))) return false;
        if ((size_t)n < sizeof buf - have) return true;   // a short read: the socket is empty
    }
    return true;
}

static void accept_all(int listener, int ep)
{
    for (;;) {
        int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        conn *c = calloc(1, sizeof *c);
        if (!c) die("out of memory");
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c };
        if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e)) conn_free(c);
    }
}

static int listen_on(uint16_t port)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof a;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (void *)&a, sizeof a) || listen(fd, 4096) || getsockname(fd, (void *)&a, &size)) die("listen: %s", strerror(errno));
    say_listening(text("127.0.0.1:%d", ntohs(a.sin_port)));
    return fd;
}

int main(int argc, char **argv)
{
    const char *name = take_args(argc, argv);
    http = !strcmp(name, "serve_http");
    if ((!http && strcmp(name, "serve_echo")) || opt_num("spin", 0)) return NO_COUNTERPART;
    prepare_to_serve();
    int listener = listen_on((uint16_t)opt_num("port", 0));
    int ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event accept_event = { .events = EPOLLIN };   // data.ptr NULL: the listener
    if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, listener, &accept_event)) die("epoll: %s", strerror(errno));
    for (;;) {
        static struct epoll_event events[1024];
        int n = epoll_wait(ep, events, 1024, -1);
        for (int i = 0; i < n; i++) {
            conn *c = events[i].data.ptr;
            if (!c) {
                accept_all(listener, ep);
                continue;
            }
            // An edge is seen once: after a flush that made room, the socket has to be read again, as
            // the edge that announced those bytes may have come while nothing was read.
            bool ok = !(events[i].events & EPOLLERR);
            if (ok && c->out) ok = conn_flush(c) && (c->out || conn_read(c));
            else if (ok && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP))) ok = conn_read(c);
            if (!ok) conn_free(c);
        }
    }
}
