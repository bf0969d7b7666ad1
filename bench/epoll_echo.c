// The practical limit: one thread, bare edge-triggered epoll, no runtime at all.
//
//   epoll_echo echo|http [port] [life_seconds]
//
// echo sends back what it reads; http answers each complete request head with a fixed response.
// Port 0 (the default) takes any free one; the address is printed when it is ready. It ends by itself
// after life_seconds (600), so that a forgotten server does not stay.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 4096 };

// An idle connection owns this and no buffer: `out` exists while the peer does not take its answers,
// `head` while a request head is incomplete.
typedef struct conn {
    int fd;
    char *out;
    size_t out_at, out_len;
    char *head;
    size_t head_len;
} conn;

static const char RESPONSE[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nHello";
static const char NOT_FOUND[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

static bool http;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void conn_free(conn *c)
{
    close(c->fd);
    free(c->out);
    free(c->head);
    free(c);
}

// Sends what the socket takes and keeps the rest. False: the connection is broken.
static bool conn_send(conn *c, const char *data, size_t n)
{
    ssize_t sent = send(c->fd, data, n, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return false;
    if (sent < 0) sent = 0;
    if ((size_t)sent == n) return true;
    c->out_at = 0;
    c->out_len = n - (size_t)sent;
    c->out = malloc(c->out_len);
    if (!c->out) return false;
    memcpy(c->out, data + sent, c->out_len);
    return true;
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
        }
    }
    return true;
}

// Answers each complete head in buf[0..n) and keeps what follows the last one.
static bool conn_answer(conn *c, const char *buf, size_t n)
{
    static char out[64 * 1024];   // a head takes four bytes at least, so this holds every answer
    size_t at = 0, out_n = 0;
    for (;;) {
        const char *end = memmem(buf + at, n - at, "\r\n\r\n", 4);
        if (!end) break;
        bool found = !strncmp(buf + at, "GET / ", 6);
        size_t size = found ? sizeof RESPONSE - 1 : sizeof NOT_FOUND - 1;
        memcpy(out + out_n, found ? RESPONSE : NOT_FOUND, size);
        out_n += size;
        at = (size_t)(end + 4 - buf);
    }
    if (at == 0 && n == BUFFER) return false;   // a head larger than the buffer
    c->head_len = n - at;
    if (c->head_len) {
        if (!c->head && !(c->head = malloc(BUFFER))) return false;
        memcpy(c->head, buf + at, c->head_len);
    }
    return out_n == 0 || conn_send(c, out, out_n);
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
        if (!c) die("calloc");
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
    if (bind(fd, (void *)&a, sizeof a) || listen(fd, 4096) || getsockname(fd, (void *)&a, &size)) die("listen");
    printf("listening 127.0.0.1:%d\n", ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    if (argc < 2 || (strcmp(argv[1], "echo") && strcmp(argv[1], "http"))) {
        fprintf(stderr, "usage: epoll_echo echo|http [port] [life_seconds]\n");
        return 2;
    }
    http = argv[1][0] == 'h';
    alarm(argc > 3 ? (unsigned)atoi(argv[3]) : 600);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    int listener = listen_on((uint16_t)(argc > 2 ? atoi(argv[2]) : 0));
    int ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event accept_event = { .events = EPOLLIN };   // data.ptr NULL: the listener
    if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, listener, &accept_event)) die("epoll");
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
