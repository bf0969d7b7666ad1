// sim_platform.h - a simulated kernel under crt: clock, sockets, epoll, eventfd
//
//   #include "sim_platform.h"   // includes crt.h with its implementation
//
// The runtime, the coroutines and crt_platform_epoll.h are the real ones; the calls that
// they make to the system end here, in one thread, with a clock that moves only when
// everybody waits. A seed decides how long bytes travel, how many of them a call takes,
// which calls are interrupted, find nothing yet, run out of descriptors, which connections
// break, and in which order readiness is told. Nothing else is random, so that a seed
// always gives the same run: sim.hash is a hash over every call, its result and its time.
//
// The kernel keeps to what Linux does: events are edges, an edge comes for each arrival,
// room is told only to who was refused and once a third of the buffer is free, a short
// transfer means that there was no more (where a fault makes one shorter, an edge
// follows). What the contract of >>reactor allows beyond that happens too: spurious
// events, late ones of a descriptor that is gone, and (sim.race) an arrival between a
// call and what the caller makes of its result, as if another thread served the events.
//
// Checked at every wait: nobody waits for what is there already; nobody waits while
// nothing can ever happen; nobody is later than he should be (sim_expect).
//
// SIM_BUG makes the kernel, or the clock, lie: to prove that the checks find it.
//   1 an edge of a readable socket is lost    4 the first of the bytes is given twice
//   2 a wake through the eventfd is lost      5 an edge of a writable socket is lost
//   3 the clock runs ahead: timers are early  6 the sleep is too long: timers are late
#ifndef SIM_PLATFORM_H
#define SIM_PLATFORM_H

#ifndef SIM_BUG
#define SIM_BUG 0
#endif

// All that crt.h includes: the names below must not meet a system header.
#include <arpa/inet.h>
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SIM_API __attribute__((unused)) static
enum { SIM_FD = 1000, SIM_OBJECTS = 200, SIM_BACKLOG = 8, SIM_ROOM = 4096, SIM_EVENTS = 4096, SIM_LATE = 16 };
enum { SIM_FREE, SIM_FRESH, SIM_LISTENER, SIM_CONNECTING, SIM_STREAM, SIM_EVENTFD, SIM_EPOLL };

typedef struct sim_object {   // what a descriptor is
    int kind, generation, port;
    int peer, peer_generation;          // the other end,
    int peer_room;                      // and its buffer
    int backlog[SIM_BACKLOG], waiting;  // established, not yet accepted
    bool held;                          // in a backlog: it has no descriptor yet
    bool fin, reset, write_ended, read_ended, refused, linger_reset;
    int error;                          // SO_ERROR
    unsigned char ring[SIM_ROOM];       // on the way to us, and arrived
    int room, first, arrived, under_way;
    int unacknowledged;                 // what we sent, as far as we know
    int64_t last_arrival, last_ack;     // of what we send, of what we have taken
    uint64_t counter;                   // an eventfd's
    int epoll;                          // index of the epoll that watches us; -1
    uint32_t interest;
    uint64_t token;
    bool ready;                         // an edge that was not told yet
    int64_t ready_at;
} sim_object;

enum { SIM_ARRIVE, SIM_FIN, SIM_RST, SIM_ACK, SIM_SYN, SIM_ESTABLISHED, SIM_REFUSED, SIM_CALL };
typedef struct sim_event {
    int64_t due;
    uint64_t number;
    int kind, object, generation, n, from, from_generation;
    void (*call)(void *arg);
    void *arg;
} sim_event;

static struct {
    uint64_t seed, kernel_rng, hash, steps;
    int64_t now;
    uint32_t faults;         // of a thousand calls
    uint32_t breaks;         // of a thousand transfers: the connection is reset
    int64_t delay;           // how long a byte travels at most
    int room;                // of a socket's buffer at most
    int64_t overshoot;       // a wait ends so much too late at most
    int64_t slack;           // what sim_expect allows
    bool race, whole_ms;     // see above; no epoll_pwait2
    sim_object object[SIM_OBJECTS];
    int used;                      // of these: the first so many
    sim_event event[SIM_EVENTS];   // a heap
    int events;
    uint64_t numbered;
    struct { uint64_t token; int epoll; } late[SIM_LATE];   // events of the past; token 0: none
    uint64_t calls, edges, injected;
    bool lied;                     // the seeded bug has struck
    FILE *trace;
    char replay[256];
} sim;
static bool sim_paused;   // one runtime, with crt's own virtual clock: time moves in its waits only

// Set by the part that knows crt (below), called by the kernel.
static void sim_look(int epoll, bool told);   // at each wait
static void sim_catch_up(void);    // time, where crt moves it
static void sim_serve_foreign(int epoll);
static void sim_foreign(void (*call)(void *arg), void *arg);
static bool sim_idle_until(int64_t *next);

SIM_API void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void sim_dump(void);
SIM_API void sim_fail(const char *format, ...)
{
    va_list list;
    fflush(stdout);
    fprintf(stderr, "seed %llu, after %llu steps, at %lld us: ", (unsigned long long)sim.seed,
            (unsigned long long)sim.steps, (long long)(sim.now / 1000));
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, "\n");
    sim_dump();
    fprintf(stderr, "replay: %s\n", sim.replay);
    if (sim.trace) fclose(sim.trace);
    printf("0 passed, 1 failed\n");
    fflush(stdout);
    _exit(1);
}

// ---------------------------------------------------------------------------
// chance and trace
// ---------------------------------------------------------------------------

static uint64_t sim_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
static uint64_t sim_below(uint64_t n) { return n ? sim_next(&sim.kernel_rng) % n : 0; }
static bool sim_chance(uint32_t per_mille) { return per_mille && sim_below(1000) < per_mille; }
static bool sim_fault(void)
{
    bool yes = sim_chance(sim.faults);
    sim.injected += yes;
    return yes;
}
// Whatever happens goes through here.
SIM_API void sim_trace(const char *what, int64_t a, int64_t b, int64_t c)
{
    int64_t values[4] = {sim.now, a, b, c};
    for (const char *p = what; *p; p++) sim.hash = (sim.hash ^ (unsigned char)*p) * 0x100000001b3u;
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 64; k += 8) sim.hash = (sim.hash ^ ((uint64_t)values[i] >> k & 255)) * 0x100000001b3u;
    if (sim.trace)
        fprintf(sim.trace, "%lld %s %lld %lld %lld\n", (long long)sim.now, what, (long long)a, (long long)b, (long long)c);
}

// ---------------------------------------------------------------------------
// what is due when
// ---------------------------------------------------------------------------

static bool sim_before(const sim_event *a, const sim_event *b)
{
    return a->due != b->due ? a->due < b->due : a->number < b->number;
}
static void sim_swap(int i, int k)
{
    sim_event e = sim.event[i];
    sim.event[i] = sim.event[k];
    sim.event[k] = e;
}
static sim_event *sim_schedule(int64_t due, int kind, int object)
{
    if (sim.events == SIM_EVENTS) sim_fail("the simulation has too many events");
    int i = sim.events++;
    sim.event[i] = (sim_event){.due = due, .number = sim.numbered++, .kind = kind, .object = object,
                               .generation = object >= 0 ? sim.object[object].generation : 0};
    for (; i > 0 && sim_before(&sim.event[i], &sim.event[(i - 1) / 2]); i = (i - 1) / 2) sim_swap(i, (i - 1) / 2);
    return &sim.event[i];
}
static sim_event sim_take(void)
{
    sim_event first = sim.event[0];
    sim.event[0] = sim.event[--sim.events];
    for (int i = 0;;) {
        int least = i;
        for (int k = 2 * i + 1; k <= 2 * i + 2; k++)
            if (k < sim.events && sim_before(&sim.event[k], &sim.event[least])) least = k;
        if (least == i) return first;
        sim_swap(i, least);
        i = least;
    }
}
// Calls back from "another thread" at that time.
SIM_API void sim_call_at(int64_t due, void (*call)(void *arg), void *arg)
{
    sim_event *e = sim_schedule(due, SIM_CALL, -1);
    e->call = call;
    e->arg = arg;
}
static int64_t sim_travel(void) { return (int64_t)sim_below((uint64_t)sim.delay + 1) + 1000; }

// ---------------------------------------------------------------------------
// sockets
// ---------------------------------------------------------------------------

static sim_object *sim_at(int fd) { return fd >= SIM_FD && fd < SIM_FD + SIM_OBJECTS ? &sim.object[fd - SIM_FD] : NULL; }
static bool sim_is(int fd) { return fd >= SIM_FD; }
static int sim_index(const sim_object *o) { return (int)(o - sim.object); }
static sim_object *sim_peer(sim_object *o)
{
    sim_object *p = o->peer >= 0 ? &sim.object[o->peer] : NULL;
    return p && p->generation == o->peer_generation && p->kind == SIM_STREAM ? p : NULL;
}
static int sim_error(int e)
{
    errno = e;
    return -1;
}
static int sim_new(int kind)   // its index, or -1 and errno
{
    for (int i = 0; i < SIM_OBJECTS; i++) {
        sim_object *o = &sim.object[i];
        if (o->kind != SIM_FREE) continue;
        int generation = o->generation + 1;
        memset(o, 0, sizeof *o);
        o->kind = kind;
        o->generation = generation;
        o->peer = o->epoll = -1;
        if (i >= sim.used) sim.used = i + 1;
        o->room = kind == SIM_EVENTFD ? 0 : 1 + (int)sim_below((uint64_t)sim.room);
        return i;
    }
    return sim_error(EMFILE);
}
static int sim_window(sim_object *o)   // bytes that we may send now
{
    return o->peer_room - o->unacknowledged;
}
static uint32_t sim_level(sim_object *o)
{
    uint32_t e = 0;
    if (o->kind == SIM_EVENTFD) return o->counter ? EPOLLIN : 0;
    if (o->kind == SIM_LISTENER) return o->waiting ? EPOLLIN : 0;
    if (o->kind == SIM_CONNECTING) return o->refused ? EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLRDHUP : 0;
    if (o->kind != SIM_STREAM) return EPOLLOUT | EPOLLHUP;
    if (o->arrived || o->fin || o->reset || o->read_ended) e |= EPOLLIN;
    if (o->fin || o->reset || o->read_ended) e |= EPOLLRDHUP;
    if (o->reset || ((o->fin || o->read_ended) && o->write_ended)) e |= EPOLLHUP;
    if (o->error) e |= EPOLLERR;
    if (o->write_ended || o->reset || sim_window(o) * 3 >= o->peer_room) e |= EPOLLOUT;
    return e;
}
static void sim_edge(sim_object *o)
{
    if (o->epoll < 0) return;
    sim.edges++;
    if (!o->ready) o->ready_at = sim.now + (sim_fault() ? (int64_t)sim_below(300000) : 0);
    o->ready = true;
}
// The edge that follows a call which did less than it could.
static void sim_rearm(sim_object *o)
{
    sim_edge(o);
    if (o->ready) o->ready_at = sim.now + (int64_t)sim_below(200000);
}
static void sim_reset(sim_object *o)
{
    if (o->kind != SIM_STREAM || o->reset) return;
    o->reset = true;
    o->arrived = o->under_way = 0;
    o->error = ECONNRESET;
    sim_edge(o);
}
static void sim_tell_reset(sim_object *o)   // to the peer
{
    if (sim_peer(o)) sim_schedule(sim.now + sim_travel(), SIM_RST, o->peer);
}
static sim_object *sim_listener(int port)
{
    for (int i = 0; i < sim.used; i++)
        if (sim.object[i].kind == SIM_LISTENER && sim.object[i].port == port) return &sim.object[i];
    return NULL;
}
static void sim_free(sim_object *o)
{
    for (int i = 0; i < o->waiting; i++) {
        sim_object *held = &sim.object[o->backlog[i]];
        sim_tell_reset(held);
        sim_free(held);
    }
    o->waiting = 0;
    o->kind = SIM_FREE;
    o->ready = false;
    o->epoll = -1;
    o->generation++;
}
// A connection request arrives at the listener.
static void sim_syn(const sim_event *e)
{
    sim_object *l = sim_listener(e->n), *from = &sim.object[e->from];
    if (from->generation != e->from_generation || from->kind != SIM_CONNECTING) return;
    int i = -1;
    if (l && l->waiting < SIM_BACKLOG && !sim_chance(sim.faults / 8)) i = sim_new(SIM_STREAM);
    if (i < 0) {
        sim_schedule(sim.now + sim_travel(), SIM_REFUSED, e->from);
        return;
    }
    sim.object[i].held = true;
    sim.object[i].port = e->n;
    sim.object[i].peer = e->from;
    sim.object[i].peer_generation = e->from_generation;
    sim.object[i].peer_room = from->room;
    l->backlog[l->waiting++] = i;
    sim_edge(l);
    sim_event *answer = sim_schedule(sim.now + sim_travel(), SIM_ESTABLISHED, e->from);
    answer->from = i;
    answer->from_generation = sim.object[i].generation;
}
static void sim_happen(const sim_event *e)
{
    sim_object *o = e->object >= 0 ? &sim.object[e->object] : NULL;
    sim_trace("event", e->kind, e->object, e->n);
    if (e->kind == SIM_CALL) {
        sim_foreign(e->call, e->arg);
        return;
    }
    if (e->kind == SIM_SYN) {
        sim_syn(e);
        return;
    }
    if (o->generation != e->generation) return;
    switch (e->kind) {
    case SIM_ARRIVE:
        if (o->reset) return;
        o->under_way -= e->n;
        o->arrived += e->n;
        if (!(SIM_BUG == 1 && o->arrived == e->n && sim_below(400) == 0)) sim_edge(o);
        else sim.lied = true;
        return;
    case SIM_FIN:
        o->fin = true;
        sim_edge(o);
        return;
    case SIM_RST: sim_reset(o); return;
    case SIM_ACK: {
        bool refused = sim_window(o) * 3 < o->peer_room;
        o->unacknowledged -= e->n;
        if (!refused || sim_window(o) * 3 < o->peer_room) return;
        if (!(SIM_BUG == 5 && sim_below(100) == 0)) sim_edge(o);
        else sim.lied = true;
        return;
    }
    case SIM_ESTABLISHED:
        if (o->kind != SIM_CONNECTING) return;
        o->kind = SIM_STREAM;
        o->peer = e->from;
        o->peer_generation = e->from_generation;
        o->peer_room = sim.object[e->from].room;
        if (!sim_peer(o)) sim_reset(o);   // it went meanwhile
        sim_edge(o);
        return;
    case SIM_REFUSED:
        o->refused = true;
        o->error = ECONNREFUSED;
        sim_edge(o);
        return;
    default: sim_fail("an event of kind %d", e->kind);
    }
}
static void sim_until_now(void)
{
    while (sim.events && sim.event[0].due <= sim.now) {
        sim_event e = sim_take();
        sim_happen(&e);
    }
}

// ---------------------------------------------------------------------------
// the calls
// ---------------------------------------------------------------------------

static int sim_tell(sim_object *ep, struct epoll_event *events, int most);

// Between a call's result and what crt makes of it, another thread serves events.
static void sim_other_thread(sim_object *o)
{
    if (!sim.race || o->epoll < 0 || sim_below(4)) return;
    int e = errno;
    if (!sim_paused && sim.events && sim.event[0].due <= sim.now + 100000) {
        sim.now = sim.event[0].due > sim.now ? sim.event[0].due : sim.now;
        sim_until_now();
    }
    sim_serve_foreign(o->epoll);
    errno = e;
}
static void sim_call(void)
{
    sim.calls++;
    sim_catch_up();
    sim_until_now();
}
SIM_API int sim_clock_gettime(clockid_t id, struct timespec *t)
{
    (void)id;
    sim.now += !sim_paused * 20;   // even looking takes time
    int64_t now = sim.now;
    if (SIM_BUG == 3 && sim_below(2000) == 0) {
        now += 3000000;
        sim.lied = true;
    }
    t->tv_sec = (time_t)(now / 1000000000);
    t->tv_nsec = (long)(now % 1000000000);
    return 0;
}
SIM_API int sim_socket(int family, int type, int protocol)
{
    (void)family, (void)protocol;
    sim_call();
    if ((type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != SOCK_STREAM) sim_fail("a socket that is not simulated");
    if (!(type & SOCK_NONBLOCK) || !(type & SOCK_CLOEXEC)) sim_fail("a socket that blocks, or is inherited");
    int i = sim_fault() ? sim_error(sim_below(2) ? EMFILE : ENOBUFS) : sim_new(SIM_FRESH);
    sim_trace("socket", i, 0, 0);
    return i < 0 ? -1 : SIM_FD + i;
}
SIM_API int sim_bind(int fd, const struct sockaddr *a, socklen_t n)
{
    sim_call();
    int port = ntohs(((const struct sockaddr_in *)(const void *)a)->sin_port);
    (void)n;
    if (sim_listener(port)) return sim_error(EADDRINUSE);
    sim_at(fd)->port = port;
    return 0;
}
SIM_API int sim_listen(int fd, int backlog)
{
    (void)backlog;
    sim_call();
    sim_at(fd)->kind = SIM_LISTENER;
    return 0;
}
SIM_API int sim_connect(int fd, const struct sockaddr *a, socklen_t n)
{
    sim_object *o = sim_at(fd);
    (void)n;
    sim_call();
    o->kind = SIM_CONNECTING;
    sim_event *e = sim_schedule(sim.now + sim_travel(), SIM_SYN, -1);
    e->n = ntohs(((const struct sockaddr_in *)(const void *)a)->sin_port);
    e->from = sim_index(o);
    e->from_generation = o->generation;
    sim_trace("connect", sim_index(o), e->n, 0);
    return sim_error(sim_fault() ? EINTR : EINPROGRESS);
}
SIM_API int sim_accept4(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
    sim_object *l = sim_at(fd);
    int made = -1, e = 0;
    sim_call();
    if (!(flags & SOCK_NONBLOCK) || !(flags & SOCK_CLOEXEC)) sim_fail("accept without SOCK_NONBLOCK and SOCK_CLOEXEC");
    if (sim_fault()) {
        static const int errors[] = {EINTR, ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM, EAGAIN};
        e = errors[sim_below(7)];
        if (e == EAGAIN) sim_rearm(l);
    } else if (!l->waiting) {
        e = EAGAIN;
    } else {
        made = l->backlog[0];
        memmove(l->backlog, l->backlog + 1, sizeof l->backlog[0] * (size_t)--l->waiting);
        sim.object[made].held = false;
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(20000 + made))};
        memcpy(a, &in, sizeof in < *n ? sizeof in : *n);
        *n = sizeof in;
    }
    sim_trace("accept", sim_index(l), made, e);
    errno = e;
    sim_other_thread(l);
    return made < 0 ? -1 : SIM_FD + made;
}
SIM_API int sim_getsockopt(int fd, int level, int name, void *value, socklen_t *n)
{
    sim_object *o = sim_at(fd);
    int v = 0;
    sim_call();
    if (level == SOL_SOCKET && name == SO_ERROR) {
        v = o->error;
        o->error = 0;
    }
    memcpy(value, &v, sizeof v < *n ? sizeof v : *n);
    return 0;
}
SIM_API int sim_setsockopt(int fd, int level, int name, const void *value, socklen_t n)
{
    int on = 0;   // the first member of struct linger
    if (n >= sizeof on) memcpy(&on, value, sizeof on);
    if (level == SOL_SOCKET && name == SO_LINGER) sim_at(fd)->linger_reset = on != 0;
    return 0;
}
SIM_API int sim_getsockname(int fd, struct sockaddr *a, socklen_t *n)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)sim_at(fd)->port)};
    memcpy(a, &in, sizeof in < *n ? sizeof in : *n);
    *n = sizeof in;
    return 0;
}
SIM_API int sim_getpeername(int fd, struct sockaddr *a, socklen_t *n)
{
    if (sim_at(fd)->kind != SIM_STREAM || sim_at(fd)->reset) return sim_error(ENOTCONN);
    return sim_getsockname(fd, a, n);
}
SIM_API int sim_shutdown(int fd, int how)
{
    sim_object *o = sim_at(fd);
    sim_call();
    if (o->kind != SIM_STREAM || o->reset) return sim_error(ENOTCONN);
    if (how != SHUT_RD && !o->write_ended) {
        o->write_ended = true;
        if (o->last_arrival < sim.now) o->last_arrival = sim.now;
        if (sim_peer(o)) sim_schedule(o->last_arrival = o->last_arrival + sim_travel(), SIM_FIN, o->peer);
    }
    if (how != SHUT_WR) o->read_ended = true;
    sim_edge(o);
    return 0;
}
SIM_API int sim_close(int fd)
{
    sim_object *o = sim_at(fd);
    if (!o) return close(fd);
    sim_call();
    sim_trace("close", sim_index(o), o->kind, 0);
    if (o->kind == SIM_FREE || o->held) sim_fail("descriptor %d is closed, but is not open", fd);
    if (o->kind == SIM_STREAM && !o->reset) {
        if (o->arrived || o->under_way || o->linger_reset) sim_tell_reset(o);
        else sim_shutdown(fd, SHUT_WR);
    }
    for (int i = 0; o->kind == SIM_CONNECTING && i < sim.used; i++) {   // what the listener has of it
        sim_object *half = &sim.object[i];
        if (half->kind == SIM_STREAM && half->peer == sim_index(o) && half->peer_generation == o->generation)
            sim_schedule(sim.now + sim_travel(), SIM_RST, i);
    }
    sim_free(o);
    return 0;
}
// Bytes leave: into the peer's ring, in one or two pieces.
static void sim_depart(sim_object *o, sim_object *p, const unsigned char *from, int n)
{
    for (int i = 0; i < n; i++) p->ring[(p->first + p->arrived + p->under_way + i) % SIM_ROOM] = from[i];
    p->under_way += n;
    o->unacknowledged += n;
    if (o->last_arrival < sim.now) o->last_arrival = sim.now;
    int cut = sim_below(3) ? n : (int)sim_below((uint64_t)n) + 1;
    for (int left = n; left; left -= cut, cut = left) {
        o->last_arrival += sim_travel() / 4;
        sim_schedule(o->last_arrival, SIM_ARRIVE, o->peer)->n = cut;
    }
}
static ssize_t sim_transfer_begin(sim_object *o, bool out, size_t *n)   // 1: go on; else -1 or 0
{
    sim_call();
    if (o->kind == SIM_FREE || o->held) sim_fail("a transfer on descriptor %d, which is not open", SIM_FD + sim_index(o));
    if (o->kind == SIM_STREAM && !o->reset && sim_chance(sim.breaks)) {
        sim_trace("break", sim_index(o), 0, 0);
        sim_tell_reset(o);
        sim_reset(o);
    }
    if (o->error) {
        int e = o->error;
        o->error = 0;
        return sim_error(e);
    }
    if (o->kind == SIM_CONNECTING) return sim_error(EAGAIN);
    if (o->kind != SIM_STREAM) return sim_error(ENOTCONN);
    if (o->reset) return out ? sim_error(EPIPE) : 0;
    if (sim_fault()) {
        if (sim_below(3) == 0) return sim_error(EINTR);
        sim_rearm(o);
        if (sim_below(2) == 0) return sim_error(EAGAIN);
        if (*n > 1) *n = 1 + (size_t)sim_below(*n - 1);
    }
    return 1;
}
static ssize_t sim_send_some(int fd, const void *data, size_t n)
{
    sim_object *o = sim_at(fd);
    ssize_t k = sim_transfer_begin(o, true, &n);
    if (k == 1) {
        sim_object *p = sim_peer(o);
        int window = sim_window(o);
        k = n < (size_t)window ? (ssize_t)n : window;
        if (o->write_ended) k = sim_error(EPIPE);
        else if (!k && n) k = sim_error(EAGAIN);
        else if (p) sim_depart(o, p, data, (int)k);
        else if (k) {   // nobody is there any more, which we shall be told
            o->unacknowledged += (int)k;
            sim_schedule(sim.now + sim_travel(), SIM_RST, sim_index(o));
        }
    }
    sim_trace("send", sim_index(o), k, k < 0 ? errno : 0);
    sim_other_thread(o);
    return k;
}
static ssize_t sim_recv_some(int fd, void *buf, size_t n, bool peek)
{
    sim_object *o = sim_at(fd);
    ssize_t k = sim_transfer_begin(o, false, &n);
    if (k == 1) {
        k = n < (size_t)o->arrived ? (ssize_t)n : o->arrived;
        if (!k && n && !o->fin && !o->read_ended) k = sim_error(EAGAIN);
        if (k > 0) {
            for (int i = 0; i < k; i++) ((unsigned char *)buf)[i] = o->ring[(o->first + i) % SIM_ROOM];
            sim_object *p = sim_peer(o);
            if (SIM_BUG == 4 && k > 1 && sim_below(300) == 0) {
                ((unsigned char *)buf)[1] = ((unsigned char *)buf)[0];
                sim.lied = true;
            }
            if (!peek) {
                o->first = (o->first + (int)k) % SIM_ROOM;
                o->arrived -= (int)k;
            }
            if (o->last_ack < sim.now) o->last_ack = sim.now;
            if (p && !peek) sim_schedule(o->last_ack += sim_travel() / 8, SIM_ACK, o->peer)->n = (int)k;
        }
    }
    sim_trace("recv", sim_index(o), k, k < 0 ? errno : 0);
    sim_other_thread(o);
    return k;
}
SIM_API ssize_t sim_send(int fd, const void *data, size_t n, int flags)
{
    if (!(flags & MSG_NOSIGNAL)) sim_fail("send without MSG_NOSIGNAL");
    return sim_send_some(fd, data, n);
}
SIM_API ssize_t sim_recv(int fd, void *buf, size_t n, int flags) { return sim_recv_some(fd, buf, n, (flags & MSG_PEEK) != 0); }
// Several pieces: the first that is not empty, as a call that was cut short would.
SIM_API ssize_t sim_sendmsg(int fd, const struct msghdr *m, int flags)
{
    static unsigned char all[SIM_ROOM];
    size_t n = 0;
    for (size_t i = 0; i < (size_t)m->msg_iovlen && n < sizeof all; i++) {
        size_t some = m->msg_iov[i].iov_len < sizeof all - n ? m->msg_iov[i].iov_len : sizeof all - n;
        if (some) memcpy(all + n, m->msg_iov[i].iov_base, some);
        n += some;
    }
    return sim_send(fd, all, n, flags);
}
SIM_API ssize_t sim_readv(int fd, const struct iovec *pieces, int count)
{
    if (!sim_is(fd)) return readv(fd, pieces, count);
    static unsigned char all[SIM_ROOM];
    size_t n = 0, at = 0;
    for (int i = 0; i < count; i++) n += pieces[i].iov_len;
    ssize_t k = sim_recv_some(fd, all, n < sizeof all ? n : sizeof all, false);
    for (int i = 0; i < count && k > 0 && at < (size_t)k; i++) {
        size_t some = pieces[i].iov_len < (size_t)k - at ? pieces[i].iov_len : (size_t)k - at;
        if (some) memcpy(pieces[i].iov_base, all + at, some);
        at += some;
    }
    return k;
}
SIM_API int sim_eventfd(unsigned value, int flags)
{
    (void)value;
    if (!(flags & EFD_NONBLOCK) || !(flags & EFD_CLOEXEC)) sim_fail("an eventfd that blocks, or is inherited");
    int i = sim_new(SIM_EVENTFD);
    return i < 0 ? -1 : SIM_FD + i;
}
SIM_API ssize_t sim_write(int fd, const void *data, size_t n)
{
    if (!sim_is(fd)) return write(fd, data, n);
    sim_object *o = sim_at(fd);
    sim_trace("wake", sim_index(o), 0, 0);
    if (o->counter && sim_chance(sim.faults)) o->counter = UINT64_MAX - 1;   // as after very many
    uint64_t some;
    memcpy(&some, data, sizeof some);
    if (o->counter > UINT64_MAX - 1 - some) return sim_error(EAGAIN);
    o->counter += some;
    if (!(SIM_BUG == 2 && sim_below(20) == 0)) sim_edge(o);
    else sim.lied = true;
    return (ssize_t)n;
}
SIM_API ssize_t sim_read(int fd, void *buf, size_t n)
{
    if (!sim_is(fd)) return read(fd, buf, n);
    sim_object *o = sim_at(fd);
    if (o->kind != SIM_EVENTFD) return sim_recv_some(fd, buf, n, false);
    if (!o->counter) return sim_error(EAGAIN);
    memcpy(buf, &o->counter, sizeof o->counter);
    o->counter = 0;
    return (ssize_t)n;
}
SIM_API int sim_fcntl(int fd, int what, ...)
{
    va_list list;
    va_start(list, what);
    int arg = va_arg(list, int);
    va_end(list);
    return sim_is(fd) ? 0 : fcntl(fd, what, arg);
}

// --- epoll

SIM_API int sim_epoll_create1(int flags)
{
    if (!(flags & EPOLL_CLOEXEC)) sim_fail("an epoll that is inherited");
    int i = sim_new(SIM_EPOLL);
    return i < 0 ? -1 : SIM_FD + i;
}
SIM_API int sim_epoll_ctl(int epoll, int op, int fd, struct epoll_event *e)
{
    sim_object *o = sim_at(fd);
    sim_call();
    sim_trace("epoll_ctl", op, sim_index(o), 0);
    if (!o || o->kind == SIM_FREE || o->held) sim_fail("epoll_ctl of descriptor %d, which is not open", fd);
    if (op == EPOLL_CTL_DEL) {
        if (o->epoll != epoll - SIM_FD) return sim_error(ENOENT);
        o->epoll = -1;
        o->ready = false;
        return 0;
    }
    if (op == EPOLL_CTL_ADD && o->epoll >= 0) return sim_error(EEXIST);
    if (op == EPOLL_CTL_ADD && o->kind != SIM_EVENTFD && sim_chance(sim.faults / 2))
        return sim_error(sim_below(2) ? ENOMEM : ENOSPC);
    o->epoll = epoll - SIM_FD;
    o->interest = e->events | EPOLLERR | EPOLLHUP;
    o->token = e->data.u64;
    if (o->kind != SIM_EVENTFD) {
        sim.late[sim_index(o) % SIM_LATE].token = o->token;
        sim.late[sim_index(o) % SIM_LATE].epoll = o->epoll;
    }
    o->ready = false;
    if (sim_level(o) & o->interest) sim_edge(o);
    return 0;
}
// What is ready now, in any order, perhaps not all of it.
static int sim_tell(sim_object *ep, struct epoll_event *events, int most)
{
    int index = sim_index(ep), n = 0;
    int from = (int)sim_below((uint64_t)sim.used), step = sim_below(2) ? 1 : sim.used - 1;
    if (sim_fault()) most = 1 + (int)sim_below((uint64_t)most);
    for (int i = 0, k = from; i < sim.used && n < most; i++, k = (k + step) % sim.used) {
        sim_object *o = &sim.object[k];
        if (o->kind == SIM_FREE || o->epoll != index || !o->ready || o->ready_at > sim.now) continue;
        o->ready = false;
        uint32_t bits = sim_level(o) & o->interest;
        if (o->kind == SIM_STREAM && sim_fault()) bits |= (EPOLLIN | EPOLLOUT) & o->interest;   // more than is true
        if (!bits) continue;
        events[n].events = bits;
        events[n++].data.u64 = o->token;
        sim_trace("told", k, bits, 0);
    }
    for (int i = n - 1; i > 0; i--) {
        int k = (int)sim_below((uint64_t)i + 1);
        struct epoll_event e = events[i];
        events[i] = events[k];
        events[k] = e;
    }
    uint64_t which = n && n < most && sim_fault() ? sim_below(SIM_LATE) : SIM_LATE;
    if (which < SIM_LATE && sim.late[which].token && sim.late[which].epoll == index) {   // of one that may be gone
        events[n].events = EPOLLIN | EPOLLOUT;
        events[n++].data.u64 = sim.late[which].token;
    }
    return n;
}
static int64_t sim_next_edge(int epoll)
{
    int64_t next = INT64_MAX;
    for (int i = 0; i < sim.used; i++) {
        sim_object *o = &sim.object[i];
        if (o->kind != SIM_FREE && (epoll < 0 || o->epoll == epoll) && o->ready && o->ready_at < next) next = o->ready_at;
    }
    return next;
}
// When anything happens next; INT64_MAX: never.
static int64_t sim_next_time(int epoll)
{
    int64_t next = sim_next_edge(epoll);
    if (sim.events && sim.event[0].due < next) next = sim.event[0].due;
    return next;
}
static int sim_wait(int epoll, struct epoll_event *events, int most, int64_t timeout)
{
    sim_object *ep = sim_at(epoll);
    int64_t end = timeout < 0 ? INT64_MAX : sim.now + timeout;
    sim.calls++;
    if (++sim.steps > 2000000) sim_fail("it does not come to an end");
    if (SIM_BUG == 6 && timeout > 0 && sim_below(100) == 0) {
        end += 60000000000;
        sim.lied = true;
    }
    if (sim_fault() && timeout) return sim_error(EINTR);
    for (;;) {
        sim_until_now();
        int n = sim_tell(ep, events, most);
        sim_look(epoll - SIM_FD, n > 0);
        if (n || sim.now >= end) {
            int64_t next;
            if (!n && timeout == 0 && sim_idle_until(&next)) continue;
            sim_trace("wait", n, timeout, 0);
            return n;
        }
        int64_t next = sim_next_time(epoll - SIM_FD);
        if (next == INT64_MAX && end == INT64_MAX) sim_fail("everybody waits, and nothing will happen any more");
        if (next >= end) next = end + (int64_t)sim_below((uint64_t)sim.overshoot + 1);
        if (next > sim.now) sim.now = next;
    }
}
SIM_API int sim_epoll_wait(int epoll, struct epoll_event *events, int most, int ms)
{
    return sim_wait(epoll, events, most, ms < 0 ? -1 : (int64_t)ms * 1000000);
}
SIM_API long sim_syscall(long number, ...)
{
    va_list list;
    long a[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
#ifdef SYS_epoll_pwait2
    if (number == SYS_epoll_pwait2) {
        int64_t t[2];
        if (sim.whole_ms) return sim_error(ENOSYS);
        memcpy(t, (void *)a[3], sizeof t);
        return sim_wait((int)a[0], (struct epoll_event *)a[1], (int)a[2], t[0] * 1000000000 + t[1]);
    }
#endif
#ifdef SYS_recvfrom
    if (number == SYS_recvfrom) return sim_recv((int)a[0], (void *)a[1], (size_t)a[2], (int)a[3]);
    if (number == SYS_sendto) return sim_send((int)a[0], (void *)a[1], (size_t)a[2], (int)a[3]);
#endif
    if (number == SYS_gettid) return 1;
    if (number == SYS_futex) {
        if ((a[1] & 127) == 0 /* FUTEX_WAIT */) sim_fail("the only thread goes to sleep");
        return 0;
    }
    return syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

// From here on these are ours.
#define clock_gettime sim_clock_gettime
#define socket sim_socket
#define bind sim_bind
#define listen sim_listen
#define connect sim_connect
#define accept4 sim_accept4
#define getsockopt sim_getsockopt
#define setsockopt sim_setsockopt
#define getsockname sim_getsockname
#define getpeername sim_getpeername
#define shutdown sim_shutdown
#define close sim_close
#define send sim_send
#define recv sim_recv
#define sendmsg sim_sendmsg
#define readv sim_readv
#define eventfd sim_eventfd
#define write sim_write
#define read sim_read
#define fcntl sim_fcntl
#define epoll_create1 sim_epoll_create1
#define epoll_ctl sim_epoll_ctl
#define epoll_wait sim_epoll_wait
#define syscall sim_syscall

// Memory is counted, and some of it is refused.
static long sim_live;
static uint32_t sim_memory_faults;   // of a thousand; 0 while a runtime is made
SIM_API void *sim_malloc(size_t n)
{
    if (sim_chance(sim_memory_faults)) return NULL;
    sim_live++;
    return malloc(n);
}
SIM_API void sim_mfree(void *p)
{
    if (p) sim_live--;
    free(p);
}
#define CRT_MALLOC(n) sim_malloc(n)
#define CRT_FREE(p) sim_mfree(p)
#define CRT_IMPLEMENTATION
#include "crt.h"

// ---------------------------------------------------------------------------
// what the simulation knows of crt
// ---------------------------------------------------------------------------

enum { SIM_NODES = 3, SIM_EXPECTED = 64 };
static crt_runtime *sim_node[SIM_NODES];   // set by the test
static int sim_nodes;
static struct {
    int64_t by;
    const char *what;
} sim_expected[SIM_EXPECTED];   // what: NULL: free

// Something that must have happened by then (and sim.slack). Give it back to sim_met.
SIM_API int sim_expect(int64_t by, const char *what)
{
    for (int i = 0; i < SIM_EXPECTED; i++)
        if (!sim_expected[i].what) {
            sim_expected[i].by = by;
            sim_expected[i].what = what;
            return i + 1;
        }
    sim_fail("too much is expected");
}
SIM_API void sim_met(int *expectation)
{
    if (*expectation) sim_expected[*expectation - 1].what = NULL;
    *expectation = 0;
}
static void sim_dump(void)
{
    for (int i = 0; i < sim_nodes; i++)
        if (sim_node[i]) crt_dump(sim_node[i], stderr);
}
static void sim_foreign(void (*call)(void *arg), void *arg)
{
    crt__context here = crt__tls;
    memset(&crt__tls, 0, sizeof crt__tls);
    call(arg);
    crt__tls = here;
}
static int sim_serving;
static void sim_serve(void *runtime)
{
    crt_runtime *rt = runtime;
    struct epoll_event events[4];
    int n = sim_tell(&sim.object[sim_serving], events, 4);
    for (int i = 0; i < n; i++)
        if (events[i].data.u64 != CRT__WAKE_TOKEN) crt__io_event(rt, events[i].data.u64, crt__epoll_ready(events[i].events));
        else crt__reactor_wake(rt->reactor);   // that one is for the thread that waits
}
static void sim_serve_foreign(int epoll)
{
    for (int i = 0; i < sim_nodes; i++)
        if (sim_node[i] && sim_node[i]->reactor->epoll == SIM_FD + epoll) {
            sim_serving = epoll;
            sim_foreign(sim_serve, sim_node[i]);
        }
}
// With crt's own virtual clock, nothing to run and a byte on its way: time goes to whatever is
// first. True: it went to the byte; false: crt moves it to its timer, or nothing is on its way.
static bool sim_idle_until(int64_t *next)
{
    crt_runtime *rt = sim_node[0];
    if (!sim_paused || !rt || !crt__atomic_load(&rt->clock_paused, CRT__ACQUIRE)) return false;
    crt__worker *w = &rt->workers[0];
    if (crt__has_local(w) || w->deferred.head || crt__injected(rt) || w->park == CRT__NOTIFIED_PARK) return false;
    *next = sim_next_time(rt->reactor->epoll - SIM_FD);
    crt__wheel_refresh(&w->wheel);
    if (*next == INT64_MAX || *next > crt__wheels_next(rt)) return false;
    if (*next > sim.now) sim.now = *next;
    if (sim.now > rt->clock_offset) crt__clock_to(rt, sim.now);
    return true;
}
static void sim_catch_up(void)
{
    if (sim_paused && sim_node[0] && sim_node[0]->clock_offset > sim.now) sim.now = sim_node[0]->clock_offset;
}
// The clocks of the two, at a moment when one of them may have moved.
static void sim_clocks(void)
{
    sim_catch_up();
    if (!sim_paused || !sim_node[0]) return;
    if (sim.now > sim_node[0]->clock_offset) crt__clock_to(sim_node[0], sim.now);
}
// Waits for `bits`, and the kernel has them, and will not tell?
static void sim_look_at(crt_runtime *rt, crt__sock *s)
{
    sim_object *o = s->rt == rt && !crt__sock_is_soft(s) && s->waiters ? sim_at((int)s->fd) : NULL;
    if (!o || o->ready || o->epoll < 0) return;
    uint32_t ready = crt__epoll_ready(sim_level(o) & o->interest);
    for (crt_slot *slot = s->waiters; slot; slot = slot->next)
        if (slot->extra & ready & CRT__WAIT_BITS & (CRT__FOR_READ | CRT__FOR_WRITE))
            sim_fail("a task waits for descriptor %d, which is ready (%x) already", (int)s->fd, ready);
}
static void sim_look(int epoll, bool told)
{
    sim_clocks();
    for (int i = 0; i < SIM_EXPECTED; i++)
        if (sim_expected[i].what && sim.now > sim_expected[i].by + sim.slack)
            sim_fail("%s is %lld us late", sim_expected[i].what, (long long)(sim.now - sim_expected[i].by) / 1000);
    for (int i = 0; i < sim_nodes && !told; i++) {   // else crt is about to hear
        crt_runtime *rt = sim_node[i];
        if (!rt || rt->reactor->epoll != SIM_FD + epoll) continue;
        int watched = 0;
        for (int k = 0; k < sim.used; k++)
            watched += sim.object[k].kind != SIM_FREE && sim.object[k].epoll == epoll && sim.object[k].kind != SIM_EVENTFD;
        if ((uint64_t)watched != rt->fd_registered - rt->fd_deregistered)
            sim_fail("the kernel watches %d descriptors, the runtime %d", watched, (int)(rt->fd_registered - rt->fd_deregistered));
        for (uint32_t k = 0; k < rt->sock_count; k++) sim_look_at(rt, crt__sock_at(rt, k));
    }
}
#endif
