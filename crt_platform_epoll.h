// crt_platform_epoll.h - crt on Linux: epoll, eventfd, futex
//
// Included by crt.h, never by itself; `>>os` and `>>reactor` in crt.h state the
// contract that this file fulfils. Public domain or MIT-0, as crt.h.
//
// Descriptors are watched edge-triggered, once, in both directions. An eventfd
// wakes the thread that waits. Needs Linux 2.6.27; epoll_pwait2 (5.11) is used
// where the kernel has it, for time-outs finer than a millisecond.

#ifndef CRT__IMPLEMENTED
#error "include crt.h; it chooses its platform header by itself"
#endif
#ifndef CRT_PLATFORM_EPOLL_H
#define CRT_PLATFORM_EPOLL_H

#ifdef __TINYC__   // glibc's headers take it for a compiler without, and this struct is packed
#undef __attribute__
#endif
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#ifdef __x86_64__
_Static_assert(sizeof(struct epoll_event) == 12,
               "where CRT_IMPLEMENTATION is defined, include crt.h before sys/epoll.h");
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CRT__SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define CRT__SANITIZED 1
#endif
#endif
#ifndef CRT__SANITIZED
#define CRT__SANITIZED 0
#endif
// MemorySanitizer does not see what the kernel writes when it is called directly: it is told.
#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#include <sanitizer/msan_interface.h>
#define crt__kernel_wrote(p, n) __msan_unpoison((p), (n))
#endif
#endif
#ifndef crt__kernel_wrote
#define crt__kernel_wrote(p, n) ((void)0)
#endif

// ---------------------------------------------------------------------------
// threads
// ---------------------------------------------------------------------------

#ifndef CRT__FUTEX_OVERRIDE
// Two numbers of <linux/futex.h>, which is not there on every system with musl. The time
// is the kernel's and not struct timespec, whose seconds the C library may have widened:
// SYS_futex takes two longs (x32: 64 bits), and where only the later call exists, 64 bits.
enum { CRT__FUTEX_WAIT = 128, CRT__FUTEX_WAKE = 129 };
#if !defined(SYS_futex)
#define SYS_futex SYS_futex_time64
typedef int64_t crt__futex_time;
#elif defined(__x86_64__)
typedef int64_t crt__futex_time;
#else
typedef long crt__futex_time;
#endif
static int crt__futex_wait(uint32_t *addr, uint32_t expected, int64_t timeout_ns)
{
    const int64_t second = 1000000000;
    crt__futex_time t[2] = {(crt__futex_time)(timeout_ns / second), (crt__futex_time)(timeout_ns % second)};
    // 68 years, what a long of 32 bits holds, are without limit too.
    bool forever = timeout_ns < 0 || timeout_ns / second > INT32_MAX;
    int e = errno;
    long r = syscall(SYS_futex, addr, CRT__FUTEX_WAIT, expected, forever ? NULL : t, NULL, 0);
    bool late = r < 0 && errno == ETIMEDOUT;
    errno = e;
    return late;
}
static void crt__futex_wake(uint32_t *addr, int how_many)
{
    int e = errno;
    syscall(SYS_futex, addr, CRT__FUTEX_WAKE, how_many, NULL, NULL, 0);
    errno = e;
}
#endif

static uint64_t crt__thread_number(void) { return (uint64_t)syscall(SYS_gettid); }
static void crt__thread_set_name(const char *name) { prctl(PR_SET_NAME, (unsigned long)name, 0, 0, 0); }

// --- how many CPUs: the affinity mask, less a quota of the control group

// One line of a small file; false if there is none.
static bool crt__read_line(const char *path, char *line, size_t n)
{
    FILE *f = fopen(path, "re");
    if (!f) return false;
    bool ok = fgets(line, (int)n, f) != NULL;
    fclose(f);
    return ok;
}
// CPUs that the group at `path` (under `root`) or one above it allows, rounded
// down, at least 1; `most` if there is no limit.
static int crt__cgroup_walk(const char *root, char *path, bool v2, int most)
{
    char file[512], line[128];
    for (;;) {
        long long quota = -1, period = 0;
        if (v2) {
            snprintf(file, sizeof file, "%s%s/cpu.max", root, path);
            if (crt__read_line(file, line, sizeof line) && sscanf(line, "%lld %lld", &quota, &period) != 2) quota = -1;
        } else {
            snprintf(file, sizeof file, "%s%s/cpu.cfs_quota_us", root, path);
            if (!crt__read_line(file, line, sizeof line) || sscanf(line, "%lld", &quota) != 1) quota = -1;
            snprintf(file, sizeof file, "%s%s/cpu.cfs_period_us", root, path);
            if (!crt__read_line(file, line, sizeof line) || sscanf(line, "%lld", &period) != 1) quota = -1;
        }
        if (quota > 0 && period > 0) {
            int n = (int)(quota / period);
            most = crt__min(most, crt__max(n, 1));
        }
        char *slash = strrchr(path, '/');
        if (!slash) return most;
        *slash = 0;
    }
}
static int crt__cgroup_limit(int most)
{
    char line[400];
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f) return most;
    while (fgets(line, sizeof line, f)) {   // "0::/path" or "4:cpu,cpuacct:/path"
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path) continue;
        *path++ = 0;
        path[strcspn(path, "\n")] = 0;
        if (path[0] && !path[1]) path[0] = 0;
        if (!strncmp(line, "0:", 2)) most = crt__cgroup_walk("/sys/fs/cgroup", path, true, most);
        else if (strstr(names + 1, "cpu") && !strstr(names + 1, "cpuset"))
            most = crt__cgroup_walk("/sys/fs/cgroup/cpu", path, false, most);
    }
    fclose(f);
    return most;
}
static CRT__COLD int crt__cpu_count(void)
{
    cpu_set_t set;
    int n = 0;
    if (!sched_getaffinity(0, sizeof set, &set)) n = CPU_COUNT(&set);
    if (n < 1) n = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return crt__cgroup_limit(crt__max(n, 1));
}

// ---------------------------------------------------------------------------
// descriptors
// ---------------------------------------------------------------------------

// Linux releases the descriptor also when close is interrupted: never again.
static void crt__fd_close(crt__fd fd)
{
    int e = errno;
    close((int)fd);
    errno = e;
}
static bool crt__would_block(int e) { return e == EAGAIN; }   // which EWOULDBLOCK is on Linux
static int crt__pipe(int fd[2], bool nonblocking)
{
    return pipe2(fd, O_CLOEXEC | (nonblocking ? O_NONBLOCK : 0)) ? -errno : crt__fd_own_two(fd);
}
static void crt__fd_set_sigpipe(crt__fd fd, bool raise) { (void)fd, (void)raise; }

#ifndef CRT_NO_FS
// copy_file_range shares blocks or copies on the server where the file system can, but
// does not go everywhere; sendfile does.
static intptr_t crt__file_copy_some(int from, int to)
{
    const size_t some = 8 << 20;
    long k = -1;
#ifdef SYS_copy_file_range
    k = syscall(SYS_copy_file_range, from, NULL, to, NULL, some, 0u);
#endif
    return k >= 0 ? k : sendfile(to, from, NULL, some);
}
#endif

#ifndef CRT_NO_PROCESS
#include <sys/resource.h>

static crt__fd crt__pidfd_open(int pid)
{
#ifdef SYS_pidfd_open
    int fd = crt__fd_own((int)syscall(SYS_pidfd_open, pid, 0u));   // Linux 5.3
    return fd < 0 ? -errno : fd;
#else
    (void)pid;
    return -ENOSYS;
#endif
}
// Without close_range (5.11): those that /proc lists, read without the C library's
// directory, which would allocate.
static bool crt__child_close_listed(int first)
{
    union {
        uint64_t align;
        char bytes[4096];
    } room;
    enum { RECLEN = 16, NAME = 19 };   // in a record of getdents64
    int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) return false;
    for (long n; (n = syscall(SYS_getdents64, dir, room.bytes, sizeof room.bytes)) > 0;) {
        crt__kernel_wrote(room.bytes, (size_t)n);
        for (long at = 0; at < n;) {
            uint16_t step;
            int fd = 0;
            const char *name = room.bytes + at + NAME;
            memcpy(&step, room.bytes + at + RECLEN, sizeof step);
            at += step;
            if (*name == '.') continue;
            while (*name) fd = fd * 10 + (*name++ - '0');
            if (fd >= first) (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        }
    }
    close(dir);
    return true;
}
static void crt__child_close_from(int first)
{
    struct rlimit most = {0, 0};
#ifdef SYS_close_range
    const unsigned on_exec = 4;   // CLOSE_RANGE_CLOEXEC
    if (!syscall(SYS_close_range, (unsigned)first, ~0u, on_exec)) return;
#endif
    if (crt__child_close_listed(first)) return;
    (void)getrlimit(RLIMIT_NOFILE, &most);
    for (int fd = first; fd < (int)crt__min(most.rlim_cur, 65536); fd++) (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}
static int crt__child_set_gid(uint32_t gid)
{
#ifdef SYS_setgid32
    return (int)syscall(SYS_setgid32, gid);
#else
    return (int)syscall(SYS_setgid, gid);
#endif
}
static int crt__child_set_uid(uint32_t uid)
{
#ifdef SYS_setuid32
    if (!geteuid() && syscall(SYS_setgroups32, 0, NULL)) return -1;
    return (int)syscall(SYS_setuid32, uid);
#else
    if (!geteuid() && syscall(SYS_setgroups, 0, NULL)) return -1;
    return (int)syscall(SYS_setuid, uid);
#endif
}
#endif

#ifndef CRT_NO_NET
static int crt__socket(int family, int type)
{
    int fd = crt__fd_own(socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    return fd < 0 ? -errno : fd;
}
static int crt__socket_pair(int type, int fd[2])
{
    return socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) ? -errno : crt__fd_own_two(fd);
}
static int crt__accept(crt__fd fd, struct sockaddr *sa, socklen_t *n)
{
    int made = crt__fd_own(accept4((int)fd, sa, n, SOCK_NONBLOCK | SOCK_CLOEXEC));
    return made < 0 ? -errno : made;
}
static int crt__dup(crt__fd fd)
{
    int twin = fcntl((int)fd, F_DUPFD_CLOEXEC, 3);
    return twin < 0 ? -errno : twin;
}
static int crt__fd_prepare(crt__fd fd)
{
    int flags = fcntl((int)fd, F_GETFL);
    if (flags < 0 || fcntl((int)fd, F_SETFL, flags | O_NONBLOCK)) return -errno;
    return flags;
}
static void crt__fd_restore(crt__fd fd, int flags) { (void)fcntl((int)fd, F_SETFL, flags); }
// The C library's recv and send are cancellation points (pthread_cancel), which costs a
// program with threads some 50 instructions and two locked ones each time. Nobody cancels
// crt's threads: the kernel is called directly, unless something watches the library's
// calls: a sanitizer, or (CRT_LIBC_SOCKETS) a library preloaded in its place.
// So are they where SYS_socketcall once was the only way (32-bit x86, POWER, s390, m68k, sparc).
#if defined(SYS_recvfrom) && defined(SYS_sendto) && !defined(SYS_socketcall) &&            \
    !defined(CRT_LIBC_SOCKETS) && !CRT__SANITIZED
static intptr_t crt__sock_recv(crt__fd fd, void *buf, size_t n)
{
    return syscall(SYS_recvfrom, (int)fd, buf, n, 0, NULL, NULL);
}
static intptr_t crt__sock_send(crt__fd fd, const void *buf, size_t n)
{
    return syscall(SYS_sendto, (int)fd, buf, n, MSG_NOSIGNAL, NULL, 0);
}
#else
static intptr_t crt__sock_recv(crt__fd fd, void *buf, size_t n) { return recv((int)fd, buf, n, 0); }
static intptr_t crt__sock_send(crt__fd fd, const void *buf, size_t n)
{
    return send((int)fd, buf, n, MSG_NOSIGNAL);
}
#endif
static intptr_t crt__sock_peek(crt__fd fd, void *buf, size_t n) { return recv((int)fd, buf, n, MSG_PEEK); }
static intptr_t crt__sock_sendv(crt__fd fd, const struct iovec *pieces, int count)
{
    struct msghdr m;
    memset(&m, 0, sizeof m);
    m.msg_iov = (struct iovec *)(uintptr_t)pieces;
    m.msg_iovlen = (size_t)count;
    return sendmsg((int)fd, &m, MSG_NOSIGNAL);
}
static intptr_t crt__fd_readv(crt__fd fd, const struct iovec *pieces, int count)
{
    return readv((int)fd, pieces, count);
}
// A pipe without a reader raises SIGPIPE in this thread, and no flag forbids it: the
// signal is held back, and taken away before anybody sees it.
static intptr_t crt__fd_writev(crt__fd fd, const struct iovec *pieces, int count)
{
    sigset_t sigpipe, before;
    struct timespec at_once = {0, 0};
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
    intptr_t k = writev((int)fd, pieces, count);
    int e = errno;
    if (k < 0 && e == EPIPE)
        while (sigtimedwait(&sigpipe, NULL, &at_once) < 0 && errno == EINTR) {}
    if (!sigismember(&before, SIGPIPE)) pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = e;
    return k;
}
static intptr_t crt__sock_many(crt__fd fd, crt_udp_msg *msgs, size_t count, bool out)
{
    struct mmsghdr h[CRT__DATAGRAMS];
    struct iovec pieces[CRT__DATAGRAMS];
    for (size_t i = 0; i < count; i++) crt__datagram_header(&h[i].msg_hdr, &pieces[i], &msgs[i], out);
    int k = out ? sendmmsg((int)fd, h, (unsigned)count, MSG_NOSIGNAL) : recvmmsg((int)fd, h, (unsigned)count, 0, NULL);
    for (int i = 0; i < k; i++) crt__datagram_done(&h[i].msg_hdr, &msgs[i], h[i].msg_len, out);
    return k;
}
static int crt__sock_peer_cred(crt__fd fd, crt_peer_cred *cred)
{
    struct ucred c = {0, 0, 0};
    socklen_t n = sizeof c;
    if (getsockopt((int)fd, SOL_SOCKET, SO_PEERCRED, &c, &n)) return -errno;
    cred->pid = c.pid;
    cred->uid = c.uid;
    cred->gid = c.gid;
    return 0;
}
static int crt__sock_multicast_interface(crt__fd fd, uint32_t ifindex)
{
    struct ip_mreqn q;
    memset(&q, 0, sizeof q);
    q.imr_ifindex = (int)ifindex;
    return setsockopt((int)fd, IPPROTO_IP, IP_MULTICAST_IF, &q, sizeof q) ? -errno : 0;
}
static intptr_t crt__sock_recv_many(crt__fd fd, crt_udp_msg *msgs, size_t count)
{
    return crt__sock_many(fd, msgs, count, false);
}
static intptr_t crt__sock_send_many(crt__fd fd, crt_udp_msg *msgs, size_t count)
{
    return crt__sock_many(fd, msgs, count, true);
}
#endif

// ---------------------------------------------------------------------------
// the reactor
// ---------------------------------------------------------------------------

enum { CRT__WAKE_TOKEN = 0x7ffffffe };

struct crt__reactor {
    int epoll, wake;
    int max_events;
    bool no_pwait2;
    struct epoll_event events[];
};

static size_t crt__reactor_bytes(int max_events)
{
    return sizeof(crt__reactor) + (size_t)max_events * sizeof(struct epoll_event);
}
static crt__reactor *crt__reactor_new(crt_runtime *rt, int max_events, int *error)
{
    struct epoll_event e = {EPOLLIN | EPOLLET, {.u64 = CRT__WAKE_TOKEN}};
    crt__reactor *r = crt__alloc(rt, crt__reactor_bytes(max_events));
    *error = CRT_ENOMEM;
    if (!r) return NULL;
    r->max_events = max_events;
    r->no_pwait2 = false;
    r->epoll = crt__fd_own(epoll_create1(EPOLL_CLOEXEC));
    r->wake = r->epoll < 0 ? -1 : crt__fd_own(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (r->wake >= 0 && !epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->wake, &e)) return r;
    *error = -errno;
    crt__reactor_free(rt, r);
    return NULL;
}
static CRT__COLD void crt__reactor_free(crt_runtime *rt, crt__reactor *r)
{
    if (r->wake >= 0) close(r->wake);
    if (r->epoll >= 0) close(r->epoll);
    crt__free(rt, r, crt__reactor_bytes(r->max_events));
}
static int crt__reactor_add(crt__reactor *r, crt__fd fd, uint64_t token)
{
    struct epoll_event e = {EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET, {.u64 = token}};
    return epoll_ctl(r->epoll, EPOLL_CTL_ADD, (int)fd, &e) ? -errno : 0;
}
static int crt__reactor_add_priority(crt__reactor *r, crt__fd fd, uint64_t token)
{
    (void)r, (void)fd, (void)token;
    return 0;
}
static void crt__reactor_remove(crt__reactor *r, crt__fd fd, uint64_t token)
{
    (void)token;
    // Closing alone is not enough: a duplicate would keep the registration alive.
    struct epoll_event unused = {0, {0}};
    int e = errno;
    (void)epoll_ctl(r->epoll, EPOLL_CTL_DEL, (int)fd, &unused);
    errno = e;
}
static crt__fd crt__reactor_fd(crt__reactor *r) { return r->epoll; }

static void crt__reactor_wake(crt__reactor *r)
{
    uint64_t one = 1;
    int e = errno;
    // Edge-triggered, each write is an edge; the counter is read only if full.
    while (write(r->wake, &one, sizeof one) < 0 && (errno == EAGAIN || errno == EINTR)) {
        ssize_t n = errno == EAGAIN ? read(r->wake, &one, sizeof one) : 0;
        one = 1;
        (void)n;
    }
    errno = e;
}

static int crt__epoll_wait(crt__reactor *r, int64_t timeout_ns)
{
#ifdef SYS_epoll_pwait2
    if (timeout_ns > 0 && !r->no_pwait2) {
        // Kernel's time, 64-bit on every architecture.
        struct { int64_t sec, nsec; } t = {timeout_ns / 1000000000, timeout_ns % 1000000000};
        long n = syscall(SYS_epoll_pwait2, r->epoll, r->events, r->max_events, &t, NULL, (size_t)0);
        if (n > 0) crt__kernel_wrote(r->events, (size_t)n * sizeof r->events[0]);
        if (n >= 0 || errno == EINTR) return (int)n;
        r->no_pwait2 = true;   // ENOSYS, or a filter that refuses what it does not know
    }
#endif
    int64_t ms = timeout_ns < 0 ? -1 : timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
    return epoll_wait(r->epoll, r->events, r->max_events, ms > INT_MAX ? INT_MAX : (int)ms);
}
// Both directions learn of errors; a hang-up closes both.
static uint32_t crt__epoll_ready(uint32_t e)
{
    uint32_t ready = (e & EPOLLIN ? CRT__READABLE : 0) | (e & EPOLLOUT ? CRT__WRITABLE : 0);
    if (CRT__LIKELY(!(e & ~(uint32_t)(EPOLLIN | EPOLLOUT)))) return ready;
    if (e & EPOLLRDHUP) ready |= CRT__READ_CLOSED;
    if (e & EPOLLHUP) ready |= CRT__READ_CLOSED | CRT__WRITE_CLOSED;
    if (e & EPOLLERR) ready |= CRT__IO_ERROR;
    if (e & EPOLLPRI) ready |= CRT__PRIORITY;
    return ready;
}
static int crt__reactor_wait(crt__reactor *r, crt_runtime *rt, int64_t timeout_ns)
{
    int n = crt__epoll_wait(r, timeout_ns), events = 0;
    for (int i = 0; i < n; i++) {
        uint64_t token = r->events[i].data.u64;
        if (i + 1 < n) crt__io_expect(rt, r->events[i + 1].data.u64);
        if (token == CRT__WAKE_TOKEN) continue;
        events++;
        if (token == CRT__SIGNAL_TOKEN) crt__signal_wake(rt);
        else crt__io_event(rt, token, crt__epoll_ready(r->events[i].events));
    }
    return events;
}

#endif   // CRT_PLATFORM_EPOLL_H
