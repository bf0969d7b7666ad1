// echo_load.c: many connections to an echo server at once; every byte is compared.
//
//   echo_load PORT [CONNECTIONS=10000] [ROUNDS=4] [BYTES=1500]
//
// Opens all connections, then each sends ROUNDS messages of BYTES and reads them back.
// All stay open until the last byte of the last has come back, so the server has all of
// them at once. At the end every connection is half-closed and has to end cleanly: not
// a byte too few, not one too many. Bounded: 60 s without progress is a failure.
// Ends with "N passed, N failed" (connections).
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct conn {
    int fd;
    uint32_t id;
    enum { CONNECTING, TALKING, ALL_BACK, ENDED, FAILED } state;
    bool shut, writable;
    uint64_t sent, back;
} conn;
static conn *conns;
static int n_conns = 10000, rounds = 4, bytes = 1500, ep;
static int connected, all_back, ended, failed;
static uint64_t total_back;

// Differs between connections: a byte that goes astray is seen.
static unsigned char pattern(uint32_t id, uint64_t i)
{
    uint64_t x = (i / 8 + 1) * 0x9E3779B97F4A7C15u ^ (uint64_t)id * 0xbf58476d1ce4e5b9u;
    x ^= x >> 29;
    return (unsigned char)(x >> (i % 8 * 8));
}
static void fail(conn *c, const char *why)
{
    if (failed++ < 10)
        fprintf(stderr, "connection %u: %s (%s), %llu sent, %llu back\n", c->id, why, errno ? strerror(errno) : "-",
                (unsigned long long)c->sent, (unsigned long long)c->back);
    c->state = FAILED;
    close(c->fd);
}
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
// Writes the rest of the message under way: the next is begun when the last is back.
static void talk(conn *c)
{
    unsigned char buf[4096];
    uint64_t all = (uint64_t)rounds * (uint64_t)bytes;
    for (;;) {   // read
        errno = 0;
        ssize_t k = read(c->fd, buf, sizeof buf);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0 && errno == EAGAIN) break;
        if (k < 0) { fail(c, "read"); return; }
        if (k == 0) {
            if (c->state != ALL_BACK) fail(c, "ended early");
            else if (!c->shut) fail(c, "ended by the server");
            else {
                c->state = ENDED;
                ended++;
                close(c->fd);
            }
            return;
        }
        for (ssize_t i = 0; i < k; i++)
            if (c->back + (uint64_t)i >= c->sent || buf[i] != pattern(c->id, c->back + (uint64_t)i)) {
                fail(c, c->back + (uint64_t)i >= c->sent ? "a byte too many" : "a wrong byte");
                return;
            }
        c->back += (uint64_t)k;
        total_back += (uint64_t)k;
        if (c->back == all) {
            c->state = ALL_BACK;
            all_back++;
        }
    }
    while (c->sent < all) {   // write
        uint64_t end = (c->back / (uint64_t)bytes + 1) * (uint64_t)bytes;
        size_t n = 0;
        if (c->sent >= end) break;
        while (n < sizeof buf && c->sent + n < end) buf[n] = pattern(c->id, c->sent + n), n++;
        errno = 0;
        ssize_t k = send(c->fd, buf, n, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0 && errno == EAGAIN) break;
        if (k < 0) { fail(c, "write"); return; }
        c->sent += (uint64_t)k;
    }
}
static void on_event(conn *c, uint32_t events)
{
    if (c->state == FAILED || c->state == ENDED) return;
    if (c->state == CONNECTING) {
        socklen_t n = sizeof(int);
        int e = 0;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &n);
        if (e) { errno = e; fail(c, "connect"); return; }
        if (!(events & EPOLLOUT)) return;
        c->state = TALKING;
        connected++;
        return;   // talks when all are connected
    }
    if (connected + failed >= n_conns || c->state == ALL_BACK) talk(c);
}
// Waits for events until *count (and the failures) make up all connections.
static bool until(const char *what, const int *count)
{
    static struct epoll_event events[1024];
    double last = now();
    while (*count + failed < n_conns) {
        int n = epoll_wait(ep, events, 1024, 1000);
        for (int i = 0; i < n; i++) on_event(events[i].data.ptr, events[i].events);
        if (n > 0) last = now();
        if (now() - last > 60) {
            fprintf(stderr, "no progress for 60 s while %s: %d of %d\n", what, *count, n_conns);
            return false;
        }
    }
    return true;
}
int main(int argc, char **argv)
{
    if (argc < 2) return fprintf(stderr, "usage: echo_load PORT [CONNECTIONS] [ROUNDS] [BYTES]\n"), 2;
    int port = atoi(argv[1]);
    if (argc > 2) n_conns = atoi(argv[2]);
    if (argc > 3) rounds = atoi(argv[3]);
    if (argc > 4) bytes = atoi(argv[4]);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    conns = calloc((size_t)n_conns, sizeof *conns);
    ep = epoll_create1(EPOLL_CLOEXEC);
    if (!conns || ep < 0) return perror("echo_load"), 1;
    double begun = now();
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    for (int i = 0; i < n_conns; i++) {
        conn *c = &conns[i];
        c->id = (uint32_t)i;
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (c->fd < 0) return perror("echo_load: socket (ulimit -n?)"), 1;
        struct epoll_event e = {EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.ptr = c}};
        if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) {
            fail(c, "connect");
            continue;
        }
        epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
        if (i % 500 == 499) {   // not more than the backlog of the server holds at once
            static struct epoll_event events[1024];
            while (connected + failed <= i) {
                int n = epoll_wait(ep, events, 1024, 5000);
                if (n <= 0) break;
                for (int k = 0; k < n; k++) on_event(events[k].data.ptr, events[k].events);
            }
        }
    }
    bool ok = until("connecting", &connected);
    double met = now();
    for (int i = 0; ok && i < n_conns; i++)
        if (conns[i].state == TALKING) talk(&conns[i]);
    ok = ok && until("talking", &all_back);
    double talked = now();
    for (int i = 0; ok && i < n_conns; i++)
        if (conns[i].state == ALL_BACK) {
            conns[i].shut = true;
            shutdown(conns[i].fd, SHUT_WR);
        }
    ok = ok && until("ending", &ended);
    fprintf(stderr, "%d connections, %.1f MB back; connecting %.2f s, talking %.2f s, ending %.2f s\n", n_conns,
            (double)total_back / 1e6, met - begun, talked - met, now() - talked);
    printf("%d passed, %d failed\n", ended, n_conns - ended);
    return ended != n_conns;
}
