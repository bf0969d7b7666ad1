// kqueue.c - kqueue made of epoll, for tests; see sys/event.h beside it
//
// One epoll each for reads, writes and urgent data, since the filters of a descriptor
// are independent of one another, and one around them that is the kqueue's descriptor.
// Users, timers and processes are descriptors of their own (eventfd, timerfd, pidfd) in
// the outer one. As on the BSDs, and unlike epoll:
//   * close() removes the filters of that descriptor, whatever duplicates there are
//   * EV_ADD of what is there already looks at it again
//   * EV_EOF says that a direction has ended, of writing also after a shutdown of this end;
//     fflags has the error of a socket that broke, and an error that does not end a socket
//     is an event like any other
//   * triggering a user event replaces its udata
//   * a process that has ended is unknown (ESRCH), and one whose end is told cannot be
//     waited for yet: for a moment, waitid with WNOHANG denies it
//   * EVFILT_EXCEPT tells of ordinary data too, without NOTE_OOB (macOS)
// And beside kqueue:
//   * a Unix socket whose peer has closed has no peer's name (ENOTCONN; macOS: EINVAL)
//   * SO_ACCEPTCONN is the option's own bit; macOS does not know it (ENOPROTOOPT), NetBSD says 1
//   * the ends of a socketpair have no credentials (NetBSD: one has; OpenBSD, macOS: both)
// With KQUEUE_SHIM_MACOS also:
//   * F_SETNOSIGPIPE, which a socket refuses (EINVAL) once both directions have ended
//   * SO_LINGER_SEC, kept as a short of ticks
//   * poll says POLLHUP for the end of any direction asked for, and then not POLLOUT but POLLPRI
//
// KQUEUE_SHIM_HARSH=1 in the environment: what a kernel may do besides, again and again. Waits are interrupted, or give
// one event at a time; there is no timer left (ENOMEM). =2: and descriptors are told of with nothing new, which those of
// test_io's tests that count calls or wait for a parked task are not made for.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <poll.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#define KQUEUE_SHIM_ALL
#include "sys/event.h"

typedef __typeof__(((struct kevent *)NULL)->filter) filter_type;
typedef __typeof__(((struct kevent *)NULL)->udata) user_type;
enum { READS, WRITES, URGENT, INNER };
typedef struct note {   // of a descriptor
    uint32_t number;    // counts its registrations: events of an older one are stale
    filter_type own;    // the filter whose descriptor this is; 0: somebody else's
    bool socket, has[INNER];
    uintptr_t ident;
    user_type udata[INNER];
} note;
typedef struct queue {
    struct queue *next;
    int outer, inner[INNER];
    pid_t pid;
    unsigned turn;
    int count;
    note *notes;   // by descriptor
} queue;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;   // over everything below, and all queues
static queue *queues;
// True each `often` times, where it is that harsh. `count` is atomic.
static bool harsh(int how, unsigned *count, unsigned often)
{
    static int level = -1;   // atomic
    int is = __atomic_load_n(&level, __ATOMIC_RELAXED);
    if (is < 0) {
        const char *told = getenv("KQUEUE_SHIM_HARSH");
        __atomic_store_n(&level, is = told ? atoi(told) : 0, __ATOMIC_RELAXED);
    }
    return is >= how && __atomic_add_fetch(count, 1, __ATOMIC_RELAXED) % often == 0;
}

int __real_close(int fd);
int __wrap_close(int fd);
int __real_waitid(idtype_t type, id_t id, siginfo_t *info, int options);
int __wrap_waitid(idtype_t type, id_t id, siginfo_t *info, int options);
int __real_getpeername(int fd, struct sockaddr *a, socklen_t *n);
int __wrap_getpeername(int fd, struct sockaddr *a, socklen_t *n);
int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *n);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *n);
int __real_setsockopt(int fd, int level, int name, const void *value, socklen_t n);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t n);
int __real_fcntl(int fd, int how, ...);
int __wrap_fcntl(int fd, int how, ...);
int __real_poll(struct pollfd *p, nfds_t n, int ms);
int __wrap_poll(struct pollfd *p, nfds_t n, int ms);
ssize_t __real_writev(int fd, const struct iovec *pieces, int count);
ssize_t __wrap_writev(int fd, const struct iovec *pieces, int count);

// --- sockets

// A Unix socket has the length of its name, or -1.
static int name_length(int fd, int (*get)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    a.ss_family = AF_UNSPEC;
    return get(fd, (struct sockaddr *)&a, &n) || a.ss_family != AF_UNIX ? -1 : (int)n;
}
// A Unix socket that was connected, and whose peer has closed.
static bool peer_gone(int fd)
{
    struct pollfd p = {fd, 0, 0};
    return name_length(fd, __real_getpeername) >= 0 && __real_poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}
// This end sends no more: SBS_CANTSENDMORE.
static bool sends_no_more(int fd)
{
    struct tcp_info t;
    socklen_t n = sizeof t;
    int type = 0;
    memset(&t, 0, sizeof t);
    if (!__real_getsockopt(fd, IPPROTO_TCP, TCP_INFO, &t, &n))
        return t.tcpi_state == TCP_FIN_WAIT1 || t.tcpi_state == TCP_FIN_WAIT2 || t.tcpi_state == TCP_CLOSING ||
               t.tcpi_state == TCP_LAST_ACK;
    n = sizeof type;
    if (name_length(fd, getsockname) < 0 || __real_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n)) return false;
    return type == SOCK_STREAM && send(fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EPIPE;
}
bool kqueue_shim_no_cred(int fd)
{
#if defined(KQUEUE_SHIM_OPENBSD) || defined(KQUEUE_SHIM_MACOS)
    (void)fd;
    return false;
#else
    const int none = (int)sizeof(sa_family_t);
    bool pair = name_length(fd, getsockname) == none && name_length(fd, __real_getpeername) == none;
#if defined(KQUEUE_SHIM_NETBSD) || defined(KQUEUE_SHIM_NETBSD9)
    return pair && (fd & 1);
#else
    return pair;
#endif
#endif
}
int __wrap_getpeername(int fd, struct sockaddr *a, socklen_t *n)
{
    if (!peer_gone(fd)) return __real_getpeername(fd, a, n);
#ifdef KQUEUE_SHIM_MACOS
    return errno = EINVAL, -1;
#else
    return errno = ENOTCONN, -1;
#endif
}
#ifndef KQUEUE_SHIM_MACOS
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *n)
{
    int r = __real_getsockopt(fd, level, name, value, n);
#if !defined(KQUEUE_SHIM_NETBSD) && !defined(KQUEUE_SHIM_NETBSD9)
    int yes = 2;
    if (!r && level == SOL_SOCKET && name == SO_ACCEPTCONN && *(int *)value) memcpy(value, &yes, sizeof yes);
#endif
    return r;
}
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t n)
{
    return __real_setsockopt(fd, level, name, value, n);
}
int __wrap_fcntl(int fd, int how, ...)
{
    va_list v;
    va_start(v, how);
    long value = va_arg(v, long);
    va_end(v);
    return __real_fcntl(fd, how, value);
}
int __wrap_poll(struct pollfd *p, nfds_t n, int ms) { return __real_poll(p, n, ms); }
ssize_t __wrap_writev(int fd, const struct iovec *pieces, int count) { return __real_writev(fd, pieces, count); }
static void made_anew(int fd) { (void)fd; }
#else
static char quiet[1 << 16];   // atomic; by descriptor: F_SETNOSIGPIPE
static void made_anew(int fd)
{
    if (fd >= 0 && fd < (int)sizeof quiet) __atomic_store_n(&quiet[fd], 0, __ATOMIC_RELAXED);
}
int __wrap_fcntl(int fd, int how, ...)
{
    va_list v;
    va_start(v, how);
    long value = va_arg(v, long);
    va_end(v);
    if (how != F_SETNOSIGPIPE) return __real_fcntl(fd, how, value);
    if (__real_fcntl(fd, F_GETFD) < 0) return -1;
    if (peer_gone(fd)) return errno = EINVAL, -1;
    if (fd < (int)sizeof quiet) __atomic_store_n(&quiet[fd], value != 0, __ATOMIC_RELAXED);
    return 0;
}
ssize_t __wrap_writev(int fd, const struct iovec *pieces, int count)
{
    sigset_t sigpipe, before, pending;
    bool held = fd >= 0 && fd < (int)sizeof quiet && __atomic_load_n(&quiet[fd], __ATOMIC_RELAXED);
    int sig;
    if (!held) return __real_writev(fd, pieces, count);
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
    ssize_t r = __real_writev(fd, pieces, count);
    int e = errno;
    if (r < 0 && e == EPIPE && !sigpending(&pending) && sigismember(&pending, SIGPIPE)) (void)sigwait(&sigpipe, &sig);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return errno = e, r;
}
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *n)
{
    if (level == SOL_SOCKET && name == SO_ACCEPTCONN) return errno = ENOPROTOOPT, -1;
    return __real_getsockopt(fd, level, name == SO_LINGER_SEC ? SO_LINGER : name, value, n);
}
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t n)
{
    struct linger l;
    if (level != SOL_SOCKET || name != SO_LINGER_SEC) return __real_setsockopt(fd, level, name, value, n);
    memcpy(&l, value, sizeof l);
    l.l_linger = (short)(l.l_linger * 100) / 100;
    return __real_setsockopt(fd, level, SO_LINGER, &l, sizeof l);
}
int kqueue_shim_socket_info(int fd, struct socket_fdinfo *info, int room)
{
    int listens = 0;
    socklen_t n = sizeof listens;
    if (room < (int)sizeof *info) return errno = ENOMEM, 0;
    if (__real_getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n)) return 0;
    memset(info, 0, sizeof *info);
    info->psi.soi_options = (short)(listens ? SO_ACCEPTCONN : 0);
    return (int)sizeof *info;
}
// What has ended of a socket, of what was asked for.
static short ended(int fd, short events)
{
    struct pollfd p = {fd, POLLRDHUP, 0};
    int type;
    socklen_t n = sizeof type;
    if (__real_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) || __real_poll(&p, 1, 0) < 0) return 0;
    bool in = p.revents & (POLLRDHUP | POLLHUP), out = (p.revents & POLLHUP) || sends_no_more(fd);
    return (short)((in ? events & (POLLIN | POLLPRI) : 0) | (out ? events & POLLOUT : 0));
}
int __wrap_poll(struct pollfd *p, nfds_t n, int ms)
{
    int r = __real_poll(p, n, ms);
    for (nfds_t i = 0; i < n && r > 0; i++) {
        short end = p[i].revents && p[i].fd >= 0 ? ended(p[i].fd, p[i].events) : 0;
        if (end) p[i].revents = (short)(((p[i].revents | POLLHUP) & ~POLLOUT) | (end & ~POLLOUT));
    }
    return r;
}
#endif

static queue *find(int fd)
{
    for (queue *q = queues; q; q = q->next)
        if (q->outer == fd) return q;
    return NULL;
}
static note *note_of(queue *q, int fd)
{
    if (fd >= q->count) {
        int count = fd < 64 ? 64 : 2 * fd;
        note *more = realloc(q->notes, (size_t)count * sizeof *more);
        if (!more) abort();
        memset(more + q->count, 0, (size_t)(count - q->count) * sizeof *more);
        q->notes = more;
        q->count = count;
    }
    return &q->notes[fd];
}
static uint64_t tag(const note *n, int fd) { return (uint64_t)n->number << 32 | (uint32_t)fd; }

static void forget(queue *q, int fd)
{
    struct epoll_event none = {0};
    if (fd < 0 || fd >= q->count) return;
    note *n = &q->notes[fd];
    for (int i = 0; i < INNER; i++)
        if (n->has[i]) (void)epoll_ctl(q->inner[i], EPOLL_CTL_DEL, fd, &none);
    bool had = n->own || n->has[READS] || n->has[WRITES] || n->has[URGENT];
    if (n->own) {
        (void)epoll_ctl(q->outer, EPOLL_CTL_DEL, fd, &none);
        __real_close(fd);
    }
    uint32_t number = n->number + had;
    memset(n, 0, sizeof *n);
    n->number = number;
}
static void destroy(queue *q)
{
    queue **at = &queues;
    while (*at != q) at = &(*at)->next;
    *at = q->next;
    for (int fd = 0; fd < q->count; fd++)
        if (q->notes[fd].own) __real_close(fd);
    for (int i = 0; i < INNER; i++) __real_close(q->inner[i]);
    free(q->notes);
    free(q);
}
int __wrap_close(int fd)
{
    int e = errno;
    pthread_mutex_lock(&lock);
    for (queue *q = queues, *next; q; q = next) {
        next = q->next;
        if (q->pid != getpid()) continue;   // a child has no kqueue of its parent
        if (q->outer == fd) destroy(q);
        else forget(q, fd);
    }
    int r = __real_close(fd);   // under the lock: the number may be another's at once
    if (r == 0) made_anew(fd), errno = e;
    pthread_mutex_unlock(&lock);
    return r;
}
static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
// The end of a process is told: its number, and for how long it cannot be waited for yet.
static struct {
    id_t id;         // atomic
    int64_t until;   // atomic
} ends[256];
static void end_told(id_t id)
{
    __atomic_store_n(&ends[id % 256].until, now_ns() + 300000, __ATOMIC_RELAXED);
    __atomic_store_n(&ends[id % 256].id, id, __ATOMIC_RELEASE);
}
static bool denied(id_t id)
{
    return __atomic_load_n(&ends[id % 256].id, __ATOMIC_ACQUIRE) == id &&
           now_ns() < __atomic_load_n(&ends[id % 256].until, __ATOMIC_RELAXED);
}
int __wrap_waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
    if (type != P_PID || !(options & WNOHANG) || !denied(id)) return __real_waitid(type, id, info, options);
    memset(info, 0, sizeof *info);
    return 0;
}

// A child of fork begins with a lock that is free.
static void lock_it(void) { pthread_mutex_lock(&lock); }
static void unlock_it(void) { pthread_mutex_unlock(&lock); }
static __attribute__((constructor)) void at_fork(void) { (void)pthread_atfork(lock_it, unlock_it, unlock_it); }

// Above the standard descriptors, where crt wants its kqueue and no system has timers: the shim knows each by its
// number, and not what dup makes of it.
static int above_stdio(int fd)
{
    if (fd < 0 || fd > 2) return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    __real_close(fd);
    return high;
}
int kqueue(void)
{
    queue *q = calloc(1, sizeof *q);
    if (!q) return errno = ENOMEM, -1;
    bool bad = (q->outer = above_stdio(epoll_create1(EPOLL_CLOEXEC))) < 0;
    for (int i = 0; i < INNER; i++) {
        struct epoll_event e = {EPOLLIN, {.u64 = (uint64_t)i}};
        q->inner[i] = bad ? -1 : above_stdio(epoll_create1(EPOLL_CLOEXEC));
        bad = bad || q->inner[i] < 0 || epoll_ctl(q->outer, EPOLL_CTL_ADD, q->inner[i], &e);
    }
    if (bad) {
        int e = errno;
        for (int i = 0; i < INNER; i++)
            if (q->inner[i] >= 0) __real_close(q->inner[i]);
        if (q->outer >= 0) __real_close(q->outer);
        free(q);
        return errno = e, -1;
    }
    q->pid = getpid();
    pthread_mutex_lock(&lock);
    q->next = queues;
    queues = q;
    pthread_mutex_unlock(&lock);
    return q->outer;
}

// --- changes; each gives 0 or an errno

static int change_fd(queue *q, const struct kevent *c, int which)
{
    static const uint32_t events[INNER] = {EPOLLIN | EPOLLRDHUP | EPOLLET, EPOLLOUT | EPOLLET,
                                            EPOLLIN | EPOLLPRI | EPOLLET};
    int fd = (int)c->ident;
    struct stat st;
    if (fstat(fd, &st)) return EBADF;
    note *n = note_of(q, fd);
    struct epoll_event e = {events[which], {.u64 = 0}};
    if (c->flags & EV_DELETE) {
        if (!n->has[which]) return ENOENT;
        (void)epoll_ctl(q->inner[which], EPOLL_CTL_DEL, fd, &e);
        n->has[which] = false;
        n->number += !n->has[READS] && !n->has[WRITES] && !n->has[URGENT];
        return 0;
    }
    if (which == URGENT && !(S_ISSOCK(st.st_mode) && (c->fflags & NOTE_OOB))) return EINVAL;
    e.data.u64 = tag(n, fd);
    bool plain = S_ISREG(st.st_mode) || S_ISDIR(st.st_mode);   // taken, and never told of
    if (!plain && epoll_ctl(q->inner[which], n->has[which] ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e)) return errno;
    n->has[which] = true;
    n->socket = S_ISSOCK(st.st_mode);
    n->udata[which] = c->udata;
    return 0;
}
static int find_own(queue *q, filter_type filter, uintptr_t ident)
{
    for (int fd = 0; fd < q->count; fd++)
        if (q->notes[fd].own == filter && q->notes[fd].ident == ident) return fd;
    return -1;
}
static int add_own(queue *q, const struct kevent *c, int fd)
{
    if (fd < 0) return errno;
    note *n = note_of(q, fd);
    struct epoll_event e = {EPOLLIN, {.u64 = tag(n, fd) | 1u << 31}};
    if (epoll_ctl(q->outer, EPOLL_CTL_ADD, fd, &e)) {
        int error = errno;
        __real_close(fd);
        return error;
    }
    n->own = c->filter;
    n->ident = c->ident;
    n->udata[0] = c->udata;
    return 0;
}
static int process_fd(pid_t pid)
{
    int fd = above_stdio((int)syscall(SYS_pidfd_open, pid, 0u));
    struct pollfd p = {fd, POLLIN, 0};
    if (fd < 0 || poll(&p, 1, 0) == 0) return fd;
    __real_close(fd);
    end_told((id_t)pid);
    errno = ESRCH;
    return -1;
}
static int timer_fd(int64_t ms)
{
    struct itimerspec t = {{0, 0}, {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000 + 1}};
    int fd = above_stdio(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    if (fd >= 0) (void)timerfd_settime(fd, 0, &t, NULL);
    return fd;
}
static int change_own(queue *q, const struct kevent *c)
{
    int fd = find_own(q, c->filter, c->ident);
    if (c->flags & EV_DELETE) return fd < 0 ? ENOENT : (forget(q, fd), 0);
    if (c->filter == EVFILT_USER) {
        uint64_t one = 1;
        if (fd < 0 && !(c->flags & EV_ADD)) return ENOENT;
        if (fd < 0) return add_own(q, c, above_stdio(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
        q->notes[fd].udata[0] = c->udata;
        return (c->fflags & NOTE_TRIGGER) && write(fd, &one, sizeof one) < 0 ? errno : 0;
    }
    if (!(c->flags & EV_ADD) || !(c->flags & EV_ONESHOT)) return EINVAL;
    if (fd >= 0 && c->filter == EVFILT_TIMER) forget(q, fd);   // starts anew
    else if (fd >= 0) return q->notes[fd].udata[0] = c->udata, 0;
    static unsigned timers;
    if (c->filter == EVFILT_TIMER && harsh(1, &timers, 2)) return ENOMEM;
    if (c->filter == EVFILT_TIMER) return add_own(q, c, timer_fd(c->data));
    return c->fflags != NOTE_EXIT ? EINVAL : add_own(q, c, process_fd((pid_t)c->ident));
}
static int change(queue *q, const struct kevent *c)
{
    switch (c->filter) {
    case EVFILT_READ: return change_fd(q, c, READS);
    case EVFILT_WRITE: return change_fd(q, c, WRITES);
    case EVFILT_EXCEPT: return change_fd(q, c, URGENT);
    case EVFILT_USER: case EVFILT_PROC: case EVFILT_TIMER: return change_own(q, c);
    default: return EINVAL;
    }
}

// --- events

static struct kevent event(uintptr_t ident, filter_type filter, user_type udata)
{
    struct kevent e;
    memset(&e, 0, sizeof e);
    e.ident = ident;
    e.filter = filter;
    e.flags = EV_CLEAR;
    e.data = 1;
    e.udata = udata;
    return e;
}
// Under the lock. False: stale.
static bool take_own(queue *q, uint64_t what, struct kevent *out)
{
    int fd = (int)(what & 0x7fffffff);
    uint64_t drain;
    note *n = fd < q->count ? &q->notes[fd] : NULL;
    if (!n || !n->own || n->number != what >> 32) return false;
    *out = event(n->ident, n->own, n->udata[0]);
    if (n->own == EVFILT_USER) {
        if (read(fd, &drain, sizeof drain) < 0) return false;   // another thread had it
    } else {
        out->flags = EV_ONESHOT | (n->own == EVFILT_PROC ? EV_EOF : 0);
        out->fflags = n->own == EVFILT_PROC ? NOTE_EXIT : 0;
        if (n->own == EVFILT_PROC) end_told((id_t)n->ident);
        forget(q, fd);
    }
    return true;
}
static bool take_inner(queue *q, int which, const struct epoll_event *e, struct kevent *out)
{
    static const filter_type filters[INNER] = {EVFILT_READ, EVFILT_WRITE, EVFILT_EXCEPT};
    int fd = (int)(uint32_t)e->data.u64;
    uint32_t hung_up = which == READS ? EPOLLHUP | EPOLLRDHUP : EPOLLHUP;
    note *n = fd < q->count ? &q->notes[fd] : NULL;
    if (!n || !n->has[which] || n->number != e->data.u64 >> 32) return false;
    *out = event((uintptr_t)fd, filters[which], n->udata[which]);
    if (which == URGENT) {
        out->fflags = e->events & EPOLLPRI ? NOTE_OOB : 0;
        return true;
    }
    bool broken = e->events & EPOLLERR;
    if ((e->events & hung_up) || (broken && !n->socket)) out->flags |= EV_EOF;
    if (which == WRITES && n->socket && sends_no_more(fd)) out->flags |= EV_EOF;
    // Looking which error it is would take it away from the socket.
    if (broken && n->socket && (e->events & EPOLLHUP)) out->fflags = ECONNRESET;
    return true;
}
static int take(queue *q, int which, struct kevent *events, int room)
{
    struct epoll_event some[64];
    int taken = 0;
    // The descriptor's entry may change between these two; its number tells.
    int n = epoll_wait(q->inner[which], some, room < 64 ? room : 64, 0);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n; i++) taken += take_inner(q, which, &some[i], &events[taken]);
    pthread_mutex_unlock(&lock);
    return taken;
}
// A descriptor with nothing new.
static int take_nothing(queue *q, struct kevent *out)
{
    int taken = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < q->count && !taken; i++) {
        int fd = (int)((q->turn + (unsigned)i) % (unsigned)q->count), which = q->turn & 1 ? READS : WRITES;
        if (!q->notes[fd].has[which]) continue;
        *out = event((uintptr_t)fd, which == READS ? EVFILT_READ : EVFILT_WRITE, q->notes[fd].udata[which]);
        taken = 1;
    }
    pthread_mutex_unlock(&lock);
    return taken;
}
static int wait_outer(queue *q, struct epoll_event *some, int room, bool forever, int64_t until)
{
    if (forever) return epoll_wait(q->outer, some, room, -1);   // known to the sanitizers as one that blocks
    int64_t left = until - now_ns();
    struct timespec t = {0, 0};
    if (left > 0) t = (struct timespec){(time_t)(left / 1000000000), (long)(left % 1000000000)};
    return epoll_pwait2(q->outer, some, room, &t, NULL);
}
int kevent(int kq, const struct kevent *changes, kqueue_shim_count changes_given, struct kevent *events,
           kqueue_shim_count events_wanted, const struct timespec *timeout)
{
    struct epoll_event some[64];
    int told = 0, change_count = (int)changes_given, event_count = (int)events_wanted;
    pthread_mutex_lock(&lock);
    queue *q = find(kq);
    for (int i = 0; q && i < change_count; i++) {
        struct kevent c = changes[i];   // `events` may be the same array
        int e = change(q, &c);
        if (!e && !(c.flags & EV_RECEIPT)) continue;
        if (told == event_count) {
            pthread_mutex_unlock(&lock);
            return errno = e, -1;
        }
        events[told] = c;
        events[told].flags = EV_ERROR;
        events[told++].data = e;
    }
    pthread_mutex_unlock(&lock);
    if (!q) return errno = EBADF, -1;
    if (told || !event_count) return told;

    static unsigned waits, single, more;
    if (harsh(1, &waits, 7)) return errno = EINTR, -1;
    bool added = event_count > 1 && harsh(2, &more, 3);
    if (added) event_count--;
    if (harsh(1, &single, 4)) event_count = 1;
    int64_t until = timeout ? now_ns() + timeout->tv_sec * 1000000000 + timeout->tv_nsec : 0;
    for (;;) {
        int n = wait_outer(q, some, event_count < 64 ? event_count : 64, !timeout, until);
        if (n < 0) return n;
        for (int i = 0; i < n && told < event_count; i++) {
            uint64_t what = some[(q->turn + (unsigned)i) % (unsigned)n].data.u64;
            if (what < INNER) {
                told += take(q, (int)what, events + told, event_count - told);
                continue;
            }
            pthread_mutex_lock(&lock);
            told += take_own(q, what, &events[told]);
            pthread_mutex_unlock(&lock);
        }
        q->turn++;
        if (added) told += take_nothing(q, &events[told]);
        if (told || (timeout && now_ns() >= until)) return told;
    }
}

int kqueue_shim_descriptors(void)
{
    int count = 0;
    pthread_mutex_lock(&lock);
    for (queue *q = queues; q; q = q->next)
        for (int fd = 0; fd < q->count; fd++) count += q->notes[fd].own == EVFILT_PROC || q->notes[fd].own == EVFILT_TIMER;
    pthread_mutex_unlock(&lock);
    return count;
}

int kqueue_shim_peer_id(int fd, uid_t *uid, gid_t *gid)
{
    struct ucred c;
    socklen_t n = sizeof c;
    if (kqueue_shim_no_cred(fd)) return errno = ENOTCONN, -1;
    if (__real_getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n)) return -1;
    *uid = c.uid;
    *gid = c.gid;
    return 0;
}
