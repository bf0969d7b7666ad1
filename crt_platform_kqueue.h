// crt_platform_kqueue.h - crt on macOS, FreeBSD, OpenBSD and NetBSD: kqueue
//
// Included by crt.h, never by itself; `>>os` and `>>reactor` in crt.h state the
// contract that this file fulfils. Public domain or MIT-0, as crt.h.
//
// Needs macOS 10.12, FreeBSD 10, OpenBSD 7.3 (waitid) or NetBSD 8 (accept4). What each
// lacks:
//   macOS    no call makes a descriptor close-on-exec at once: a child that another part
//            of the program starts meanwhile may inherit it. No sendmmsg. A close lingers for
//            327 s at most.
//   OpenBSD  no keepalive times for a single socket: -ENOPROTOOPT.
//   FreeBSD, NetBSD   no CRT_FD_PRIORITY: -EOPNOTSUPP. A crt_stream_pair has no credentials of
//            its own: its peer is this process, as it is when asked; one from elsewhere has none.
// Where they differ in the layout of struct kevent, in the width and sign of filters and
// flags, or in a constant that is missing, it is said at the place. No value of a constant
// is relied on.

#ifndef CRT__IMPLEMENTED
#error "include crt.h; it chooses its platform header by itself"
#endif
#ifndef CRT_PLATFORM_KQUEUE_H
#define CRT_PLATFORM_KQUEUE_H

#include <sys/event.h>
#ifndef EV_RECEIPT
#error "the kqueue of this release is too old: it has no EV_RECEIPT"
#endif
#if defined(__FreeBSD__)
#include <sys/param.h>
#include <sys/cpuset.h>
#include <sys/ucred.h>
#include <sys/umtx.h>
#include <pthread_np.h>
#elif defined(__OpenBSD__)
#include <sys/futex.h>
#include <pthread_np.h>
#elif defined(__NetBSD__)
#include <lwp.h>
#elif defined(__APPLE__)
#include <libproc.h>
#endif

// ---------------------------------------------------------------------------
// threads
// ---------------------------------------------------------------------------

#ifdef CRT__FUTEX_OVERRIDE
// a test has its own
#elif defined(__FreeBSD__)
static int crt__futex_wait(uint32_t *addr, uint32_t expected, int64_t timeout_ns)
{
    struct _umtx_time t = {{(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)}, 0, CLOCK_MONOTONIC};
    // 68 years, what a time_t of 32 bits holds (i386), are without limit too.
    bool forever = timeout_ns < 0 || timeout_ns / 1000000000 > INT32_MAX;
    int e = errno;
    int r = _umtx_op(addr, UMTX_OP_WAIT_UINT_PRIVATE, expected, (void *)sizeof t, forever ? NULL : &t);
    bool late = r < 0 && errno == ETIMEDOUT;
    errno = e;
    return late;
}
static void crt__futex_wake(uint32_t *addr, int how_many)
{
    int e = errno;
    (void)_umtx_op(addr, UMTX_OP_WAKE_PRIVATE, (unsigned long)how_many, NULL, NULL);
    errno = e;
}
#elif defined(__OpenBSD__)
static int crt__futex_wait(uint32_t *addr, uint32_t expected, int64_t timeout_ns)
{
    struct timespec t = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};
    bool forever = timeout_ns < 0 || timeout_ns == CRT_FOREVER;
    int e = errno;
    int r = futex(addr, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, (int)expected, forever ? NULL : &t, NULL);
    bool late = r == ETIMEDOUT || (r < 0 && errno == ETIMEDOUT);   // the first in older releases
    errno = e;
    return late;
}
static void crt__futex_wake(uint32_t *addr, int how_many)
{
    int e = errno;
    (void)futex(addr, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, how_many, NULL, NULL);
    errno = e;
}
#else
// No futex that programs may use: waiting threads are kept in a table by address.
//
// Invariant: a thread is linked only after it has seen *addr == expected under the lock
// of its row. Whoever wakes has changed *addr before, and takes that lock: either the
// waiter comes after it and sees the new value, or it is linked and is found. The lock
// orders the accesses; the address is compared and never followed, so what it pointed
// to may be gone. First come, first woken.
typedef struct crt__parked {
    struct crt__parked *next;
    uint32_t *addr;   // NULL: woken
    pthread_cond_t wake;
} crt__parked;
typedef struct crt__parked_row {
    pthread_mutex_t lock;
    crt__parked *first, *last;
} crt__parked_row;
#define CRT__ROWS_4 CRT__ROW, CRT__ROW, CRT__ROW, CRT__ROW
#define CRT__ROWS_16 CRT__ROWS_4, CRT__ROWS_4, CRT__ROWS_4, CRT__ROWS_4
#define CRT__ROW {PTHREAD_MUTEX_INITIALIZER, NULL, NULL}
static crt__parked_row crt__parked_rows[64] = {CRT__ROWS_16, CRT__ROWS_16, CRT__ROWS_16, CRT__ROWS_16};

static crt__parked_row *crt__parked_row_of(const uint32_t *addr)
{
    uint64_t h = ((uintptr_t)addr >> 2) * (uint64_t)0x9E3779B97F4A7C15;
    return &crt__parked_rows[h >> 58];
}
// Under the lock of the row: takes out whoever comes after `before` (NULL: the first).
static crt__parked *crt__parked_unlink(crt__parked_row *row, crt__parked *before)
{
    crt__parked **at = before ? &before->next : &row->first, *p = *at;
    *at = p->next;
    if (row->last == p) row->last = before;
    return p;
}
static void crt__cond_init(pthread_cond_t *cond)
{
#ifdef __APPLE__   // has relative times instead
    pthread_cond_init(cond, NULL);
#else
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CRT__CLOCK);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
#endif
}
// Nonzero once the clock has reached `until`.
static int crt__cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until)
{
#ifdef __APPLE__
    int64_t left = until - crt__clock();
    struct timespec t = {(time_t)(left / 1000000000), (long)(left % 1000000000)};
    return left <= 0 ? ETIMEDOUT : pthread_cond_timedwait_relative_np(cond, lock, &t);
#else
    struct timespec t = {(time_t)(until / 1000000000), (long)(until % 1000000000)};
    return pthread_cond_timedwait(cond, lock, &t);
#endif
}
static int crt__futex_wait(uint32_t *addr, uint32_t expected, int64_t timeout_ns)
{
    crt__parked_row *row = crt__parked_row_of(addr);
    int64_t now = timeout_ns > 0 ? crt__clock() : 0;
    bool forever = timeout_ns < 0 || timeout_ns >= CRT_FOREVER - now, late = false;
    crt__parked me;
    pthread_mutex_lock(&row->lock);
    if (crt__atomic_load(addr, CRT__ACQUIRE) != expected) {
        pthread_mutex_unlock(&row->lock);
        return 0;
    }
    me.next = NULL;
    me.addr = addr;
    crt__cond_init(&me.wake);
    if (row->last) row->last->next = &me;
    else row->first = &me;
    row->last = &me;
    while (me.addr && !late) {
        if (forever) pthread_cond_wait(&me.wake, &row->lock);
        else late = crt__cond_wait_until(&me.wake, &row->lock, now + timeout_ns) == ETIMEDOUT;
    }
    late = me.addr != NULL;
    if (late) {   // still linked
        crt__parked *before = NULL;
        for (crt__parked *p = row->first; p != &me; p = p->next) before = p;
        crt__parked_unlink(row, before);
    }
    pthread_mutex_unlock(&row->lock);
    pthread_cond_destroy(&me.wake);
    return late;
}
static void crt__futex_wake(uint32_t *addr, int how_many)
{
    crt__parked_row *row = crt__parked_row_of(addr);
    crt__parked *before = NULL, *p;
    pthread_mutex_lock(&row->lock);
    while (how_many > 0 && (p = before ? before->next : row->first)) {
        if (p->addr != addr) {
            before = p;
            continue;
        }
        crt__parked_unlink(row, before);
        p->addr = NULL;
        pthread_cond_signal(&p->wake);   // under the lock: after it, p may be gone
        how_many--;
    }
    pthread_mutex_unlock(&row->lock);
}
#endif

static uint64_t crt__thread_number(void)
{
#if defined(__APPLE__)
    uint64_t number = 0;
    pthread_threadid_np(NULL, &number);
    return number;
#elif defined(__FreeBSD__)
    return (uint64_t)pthread_getthreadid_np();
#elif defined(__OpenBSD__)
    return (uint64_t)getthrid();
#elif defined(__NetBSD__)
    return (uint64_t)_lwp_self();
#else
    return (uint64_t)(uintptr_t)pthread_self();
#endif
}
static void crt__thread_set_name(const char *name)
{
#if defined(__APPLE__)
    pthread_setname_np(name);
#elif defined(__FreeBSD__) || defined(__OpenBSD__)
    pthread_set_name_np(pthread_self(), name);
#elif defined(__NetBSD__)
    pthread_setname_np(pthread_self(), "%s", (void *)(uintptr_t)name);
#else
    char shortened[16];
    snprintf(shortened, sizeof shortened, "%.15s", name);
    pthread_setname_np(pthread_self(), shortened);
#endif
}
// CPUs of this process's mask; 0 where there is none.
static int crt__cpu_mask_count(void)
{
    int n = 0;
#if defined(__FreeBSD__)
    cpuset_t set;
    if (!cpuset_getaffinity(CPU_LEVEL_WHICH, CPU_WHICH_PID, (id_t)-1, sizeof set, &set)) n = CPU_COUNT(&set);
#elif defined(__NetBSD__)
    cpuset_t *set = cpuset_create();
    if (set && !pthread_getaffinity_np(pthread_self(), cpuset_size(set), set))
        for (int i = 0, in; (in = cpuset_isset((cpuid_t)i, set)) >= 0; i++) n += in;
    if (set) cpuset_destroy(set);
#endif
    return n;
}
static int crt__cpu_count(void)
{
    int n = crt__cpu_mask_count();
    if (n < 1) n = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return crt__max(n, 1);
}

// ---------------------------------------------------------------------------
// descriptors
// ---------------------------------------------------------------------------

enum { CRT__CHILD = 1 << 30 };   // no descriptor: with it goes the number of a child

// Interrupted or not, the descriptor is gone: never again.
static void crt__fd_close(crt__fd fd)
{
    int e = errno;
    if (!(fd & CRT__CHILD)) close((int)fd);
    errno = e;
}
static bool crt__would_block(int e) { return e == EAGAIN || e == EWOULDBLOCK; }

// Writing to a pipe without a reader raises SIGPIPE in the thread that wrote (FreeBSD,
// OpenBSD) or in any thread of the process (macOS, NetBSD), where only a flag of the open
// file helps, which other processes that hold it share.
static int crt__fd_nosigpipe(crt__fd fd, int on)
{
#ifdef F_SETNOSIGPIPE
    return fcntl((int)fd, F_SETNOSIGPIPE, on);
#else
    (void)fd, (void)on;
    return 0;
#endif
}
static void crt__fd_set_sigpipe(crt__fd fd, bool raise)
{
    int e = errno;
    (void)crt__fd_nosigpipe(fd, !raise);
    errno = e;
}
#ifndef SOCK_CLOEXEC
// What a newer system does at once, and crt__fd_own: first, since some of what follows may be
// of the number alone. The descriptor, or -errno of now, and it is closed.
static int crt__fd_made(int fd, bool nonblocking)
{
    if ((fd = crt__fd_own(fd)) < 0) return -errno;
    if (!fcntl(fd, F_SETFD, FD_CLOEXEC) && (!nonblocking || !fcntl(fd, F_SETFL, O_NONBLOCK))) return fd;
    int e = -errno;
    crt__fd_close(fd);
    return e;
}
// Two of them, or neither. 0 or -errno.
static int crt__fd_made_two(int fd[2], bool nonblocking)
{
    int e = fd[0] = crt__fd_made(fd[0], nonblocking);
    if (e < 0) return crt__fd_close(fd[1]), e;
    e = fd[1] = crt__fd_made(fd[1], nonblocking);
    if (e < 0) return crt__fd_close(fd[0]), e;
    return 0;
}
static int crt__pipe(int fd[2], bool nonblocking) { return pipe(fd) ? -errno : crt__fd_made_two(fd, nonblocking); }
#else
static int crt__pipe(int fd[2], bool nonblocking)
{
    return pipe2(fd, O_CLOEXEC | (nonblocking ? O_NONBLOCK : 0)) ? -errno : crt__fd_own_two(fd);
}
#endif

#ifndef CRT_NO_FS
static intptr_t crt__file_copy_some(int from, int to)
{
#if defined(__FreeBSD__) && __FreeBSD_version >= 1300037
    return copy_file_range(from, NULL, to, NULL, 8 << 20, 0);
#else
    (void)from, (void)to;
    return -1;
#endif
}
#endif

#ifndef CRT_NO_PROCESS
#include <sys/resource.h>
#include <sys/wait.h>

static crt__fd crt__pidfd_open(int pid) { return pid | CRT__CHILD; }

// Without close_range: what the system lists, or else by number.
static bool crt__child_close_listed(int first)
{
    struct rlimit most = {0, 0};
#ifdef __APPLE__
    struct proc_fdinfo list[1024];
    int bytes = proc_pidinfo(getpid(), PROC_PIDLISTFDS, 0, list, sizeof list);
    if (bytes > 0 && bytes < (int)sizeof list) {
        for (int i = 0; i < bytes / (int)sizeof list[0]; i++)
            if (list[i].proc_fd >= first) (void)fcntl(list[i].proc_fd, F_SETFD, FD_CLOEXEC);
        return true;
    }
#endif
    if (getrlimit(RLIMIT_NOFILE, &most)) return false;
    int end = (int)crt__min(most.rlim_cur, 65536);
#ifdef F_MAXFD
    int highest = fcntl(0, F_MAXFD);
    if (highest >= 0) end = highest + 1;
#endif
    for (int fd = first; fd < end; fd++) (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    return true;
}
static void crt__child_close_from(int first)
{
#ifdef CLOSE_RANGE_CLOEXEC
    if (!close_range((unsigned)first, ~0u, CLOSE_RANGE_CLOEXEC)) return;
#endif
    (void)crt__child_close_listed(first);
}
// The ids are those of a process here, and so of the child alone.
static int crt__child_set_gid(uint32_t gid) { return setgid(gid); }
static int crt__child_set_uid(uint32_t uid)
{
    if (!geteuid() && setgroups(0, NULL)) return -1;
    return setuid(uid);
}
#endif

#ifndef CRT_NO_NET
#ifndef SOCK_CLOEXEC
static int crt__socket(int family, int type)
{
    int fd = crt__fd_made(socket(family, type, 0), true);
    if (fd < 0 || !crt__fd_nosigpipe(fd, 1)) return fd;
    int e = -errno;
    crt__fd_close(fd);
    return e;
}
static int crt__socket_pair(int type, int fd[2])
{
    int e = socketpair(AF_UNIX, type, 0, fd) ? -errno : crt__fd_made_two(fd, true);
    for (int i = 0; i < 2 && !e; i++) crt__fd_set_sigpipe(fd[i], false);
    return e;
}
static int crt__accept(crt__fd fd, struct sockaddr *sa, socklen_t *n)
{
    int made = crt__fd_made(accept((int)fd, sa, n), true);
    // macOS refuses all options once both directions have ended, of a peer that has closed before it was
    // accepted (EINVAL). It has this one from the listener.
    if (made >= 0) crt__fd_set_sigpipe(made, false);
    return made;
}
#else
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
#endif
static int crt__dup(crt__fd fd)
{
    struct stat st;   // kqueue would watch a file, in a way of its own
    if (!fstat((int)fd, &st) && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))) return -EPERM;
    int twin = fcntl((int)fd, F_DUPFD_CLOEXEC, 3);
    return twin < 0 ? -errno : twin;
}
static int crt__fd_prepare(crt__fd fd)
{
    int flags = fcntl((int)fd, F_GETFL);
    if (flags < 0 || fcntl((int)fd, F_SETFL, flags | O_NONBLOCK)) return -errno;
    crt__fd_set_sigpipe(fd, false);
    return flags;
}
static void crt__fd_restore(crt__fd fd, int flags)
{
    (void)fcntl((int)fd, F_SETFL, flags);
    crt__fd_set_sigpipe(fd, true);
}
// macOS refuses more than INT_MAX bytes at once, where others take a part.
static size_t crt__sock_most(size_t n) { return crt__min(n, (size_t)INT_MAX); }
static intptr_t crt__sock_recv(crt__fd fd, void *buf, size_t n) { return recv((int)fd, buf, crt__sock_most(n), 0); }
static intptr_t crt__sock_send(crt__fd fd, const void *buf, size_t n)
{
    return send((int)fd, buf, crt__sock_most(n), CRT__NOSIGNAL);
}
static intptr_t crt__sock_peek(crt__fd fd, void *buf, size_t n)
{
    return recv((int)fd, buf, crt__sock_most(n), MSG_PEEK);
}
// How many of the pieces may go at once: what fits, or a part of the first.
static int crt__pieces_most(const struct iovec **pieces, int count, struct iovec *first)
{
    size_t left = INT_MAX;
    int fit = 0;
    for (; fit < count && (*pieces)[fit].iov_len <= left; fit++) left -= (*pieces)[fit].iov_len;
    if (fit || !count) return fit;
    first->iov_base = (*pieces)->iov_base;
    first->iov_len = left;
    *pieces = first;
    return 1;
}
static intptr_t crt__sock_sendv(crt__fd fd, const struct iovec *pieces, int count)
{
    struct iovec first;
    struct msghdr m;
    count = crt__pieces_most(&pieces, count, &first);
    memset(&m, 0, sizeof m);
    m.msg_iov = (struct iovec *)(uintptr_t)pieces;
    m.msg_iovlen = (__typeof__(m.msg_iovlen))count;
    return sendmsg((int)fd, &m, CRT__NOSIGNAL);
}
static intptr_t crt__fd_readv(crt__fd fd, const struct iovec *pieces, int count)
{
    struct iovec first;
    count = crt__pieces_most(&pieces, count, &first);
    return readv((int)fd, pieces, count);
}
#ifdef F_SETNOSIGPIPE
static intptr_t crt__fd_writev(crt__fd fd, const struct iovec *pieces, int count)
{
    struct iovec first;
    count = crt__pieces_most(&pieces, count, &first);
    return writev((int)fd, pieces, count);
}
#else
// The signal is held back, and taken away before anybody sees it.
static intptr_t crt__fd_writev(crt__fd fd, const struct iovec *pieces, int count)
{
    sigset_t sigpipe, before, pending;
    struct iovec first;
    int sig;
    count = crt__pieces_most(&pieces, count, &first);
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
    intptr_t k = writev((int)fd, pieces, count);
    int e = errno;
    sigemptyset(&pending);
    if (k < 0 && e == EPIPE && !sigpending(&pending) && sigismember(&pending, SIGPIPE)) (void)sigwait(&sigpipe, &sig);
    if (!sigismember(&before, SIGPIPE)) pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = e;
    return k;
}
#endif
#ifdef PROC_PIDFDSOCKETINFO
// macOS does not let one ask for SO_ACCEPTCONN (ENOPROTOOPT), but shows what options a process's sockets have.
#define CRT__LISTENERS_UNTOLD 1
static int crt__sock_listens(crt__fd fd)
{
    struct socket_fdinfo info;
    int n = proc_pidfdinfo(getpid(), (int)fd, PROC_PIDFDSOCKETINFO, &info, (int)sizeof info);
    return n < (int)sizeof info ? -ENOPROTOOPT : (info.psi.soi_options & SO_ACCEPTCONN) != 0;
}
#endif
#define CRT__PAIRS_UNTOLD 1
static int crt__sock_peer_cred(crt__fd fd, crt_peer_cred *cred)
{
    cred->pid = -1;
#if defined(__OpenBSD__)
    struct sockpeercred c;
    socklen_t n = sizeof c;
    if (getsockopt((int)fd, SOL_SOCKET, SO_PEERCRED, &c, &n)) return -errno;
    cred->pid = c.pid;
    cred->uid = c.uid;
    cred->gid = c.gid;
#elif defined(__NetBSD__)
    struct unpcbid c;
    socklen_t n = sizeof c;
    if (getsockopt((int)fd, 0, LOCAL_PEEREID, &c, &n)) return -errno;
    cred->pid = c.unp_pid;
    cred->uid = c.unp_euid;
    cred->gid = c.unp_egid;
#else
    uid_t uid;
    gid_t gid;
    if (getpeereid((int)fd, &uid, &gid)) return -errno;
    cred->uid = uid;
    cred->gid = gid;
#if defined(LOCAL_PEERPID)
    pid_t pid;
    socklen_t n = sizeof pid;
    if (!getsockopt((int)fd, SOL_LOCAL, LOCAL_PEERPID, &pid, &n)) cred->pid = pid;
#elif defined(__FreeBSD__) && __FreeBSD_version >= 1300000
    struct xucred c;
    socklen_t n = sizeof c;
    if (!getsockopt((int)fd, SOL_LOCAL, LOCAL_PEERCRED, &c, &n)) cred->pid = c.cr_pid;
#endif
#endif
    return 0;
}
#include <ifaddrs.h>

// The interface of IPv4 by its address, as all of them know it. 0 or -errno.
static int crt__interface_addr(uint32_t ifindex, struct in_addr *a)
{
    char name[IF_NAMESIZE];
    struct ifaddrs *list = NULL;
    a->s_addr = htonl(INADDR_ANY);
    if (!ifindex) return 0;
    if (!if_indextoname(ifindex, name) || getifaddrs(&list)) return -errno;
    int e = -EADDRNOTAVAIL;
    for (struct ifaddrs *i = list; i && e; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || strcmp(i->ifa_name, name)) continue;
        *a = ((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr;
        e = 0;
    }
    freeifaddrs(list);
    return e;
}
#ifdef MCAST_JOIN_GROUP
static int crt__sock_multicast_interface(crt__fd fd, uint32_t ifindex)
{
    struct ip_mreqn q;
    memset(&q, 0, sizeof q);
    q.imr_ifindex = (int)ifindex;
    return setsockopt((int)fd, IPPROTO_IP, IP_MULTICAST_IF, &q, sizeof q) ? -errno : 0;
}
#else
static int crt__sock_multicast_interface(crt__fd fd, uint32_t ifindex)
{
    struct in_addr a;
    int e = crt__interface_addr(ifindex, &a);
    if (e) return e;
    return setsockopt((int)fd, IPPROTO_IP, IP_MULTICAST_IF, &a, sizeof a) ? -errno : 0;
}
#endif
// Not by MCAST_JOIN_GROUP (RFC 3678): where there is one, it wants an interface, and an address that says
// how long it is.
static int crt__sock_membership(crt__fd fd, const crt_addr *group, uint32_t ifindex, bool join)
{
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)(const void *)group->u.bytes;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)group->u.bytes;
    if (in4->sin_family == AF_INET) {
        struct ip_mreq q = {in4->sin_addr, {0}};
        int e = crt__interface_addr(ifindex, &q.imr_interface), name = join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP;
        return e ? e : setsockopt((int)fd, IPPROTO_IP, name, &q, sizeof q) ? -errno : 0;
    }
    struct ipv6_mreq q = {in6->sin6_addr, ifindex};
    int name = join ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP;
    return setsockopt((int)fd, IPPROTO_IPV6, name, &q, sizeof q) ? -errno : 0;
}
static intptr_t crt__sock_recv_many(crt__fd fd, crt_udp_msg *msgs, size_t count)
{
    (void)fd, (void)msgs, (void)count;
    errno = ENOSYS;
    return -1;
}
static intptr_t crt__sock_send_many(crt__fd fd, crt_udp_msg *msgs, size_t count)
{
    return crt__sock_recv_many(fd, msgs, count);
}
#endif   // CRT_NO_NET

// ---------------------------------------------------------------------------
// the reactor
// ---------------------------------------------------------------------------
// What the contract asks for, and how kqueue gives it:
//
//   edge-triggered     EVFILT_READ and EVFILT_WRITE of each descriptor, with EV_CLEAR
//   one event for both filters are independent of one another: events of the same udata
//                      that come together are put together
//   an end is readable EV_EOF comes with the filter of its direction and closes that one,
//                      of writing also after a shutdown of this end (CRT__HALVES_TOLD);
//                      fflags then has the error of a socket that broke
//   registration       EV_RECEIPT: each change is answered by itself, and no event is
//                      taken by a thread that only registers
//   waking             EVFILT_USER, which all threads may trigger; a pipe, whose bytes the
//                      waiting thread takes, where there is none (NetBSD 9, OpenBSD before 7.8)
//   signals            a pipe of >>signal, watched as any descriptor: EVFILT_SIGNAL would
//                      not tell of a signal that was raised before there was a runtime
//   children           EVFILT_PROC and EVFILT_TIMER by the number of the child
//
// Invariants: a descriptor's filters carry the token of its record, which has a generation:
// what is still under way for an earlier record is known by it and dropped. A filter belongs
// to the descriptor, not to the open file: removing it, or close, ends it whatever duplicates
// there are. The reactor itself does not change after it is made; events[] belongs to the one
// thread that waits. All else is the kernel's, which any thread may call at any time.
//
// Other than epoll: a child does not inherit a kqueue; plain files are not refused (crt__dup
// sees to it); a wait lasts no longer than a day, and then ends without events as any other;
// adding and removing are one call each for both filters; EVFILT_READ does not tell of urgent
// data, which reads stop at, so after a short read another one asks whether there is more.
//
// A token goes through udata. Where a pointer has 32 bits only its index fits: a late
// event of a descriptor that is gone then counts for the next with that index, and is
// one event too many, which the contract allows.

#define CRT__URGENT_UNTOLD 1
#define CRT__HALVES_TOLD 1

enum { CRT__WAKE_TOKEN = 0x7ffffffe, CRT__KQUEUE_MOST_SECONDS = 86400 };

#ifdef __NetBSD__
typedef uint32_t crt__kqueue_filter, crt__kqueue_flags;
typedef size_t crt__kqueue_count;
#else
typedef int16_t crt__kqueue_filter;
typedef uint16_t crt__kqueue_flags;
typedef int crt__kqueue_count;
#endif

struct crt__reactor {
    crt_runtime *rt;
    int kq, wake[2];   // wake: a pipe, where there is no EVFILT_USER
    int max_events;
    struct kevent events[];
};

typedef struct crt__sock crt__sock;
static crt__sock *crt__sock_at(crt_runtime *rt, uint32_t index);
static bool crt__sock_event(crt_runtime *rt, uint64_t token, uint32_t ready);
#if UINTPTR_MAX > 0xffffffff || defined(CRT_NO_NET)
static uint64_t crt__kqueue_token(crt_runtime *rt, const struct kevent *e)
{
    (void)rt;
    return (uintptr_t)e->udata;
}
#else
static uint64_t crt__kqueue_token(crt_runtime *rt, const struct kevent *e)
{
    uint32_t index = (uint32_t)(uintptr_t)e->udata;
    return index >= CRT__WAKE_TOKEN ? index : crt__sock_token(crt__sock_at(rt, index));
}
#endif
static struct kevent crt__kqueue_change(intptr_t ident, int filter, int flags, uint64_t token)
{
    struct kevent e;
    memset(&e, 0, sizeof e);
    e.ident = (uintptr_t)ident;
    e.filter = (crt__kqueue_filter)filter;
    e.flags = (crt__kqueue_flags)flags;
    e.udata = (__typeof__(e.udata))(uintptr_t)token;   // an intptr_t on NetBSD 9
    return e;
}
// Makes the changes, each with EV_RECEIPT, which has its error in `data` afterwards.
static int crt__kqueue_apply(crt__reactor *r, struct kevent *changes, crt__kqueue_count n)
{
    return kevent(r->kq, changes, n, changes, n, NULL) < 0 ? -errno : 0;
}
static int crt__kqueue_add_one(crt__reactor *r, struct kevent change)
{
    int e = crt__kqueue_apply(r, &change, 1);
    return e ? e : -(int)change.data;
}

// --- waking

static int crt__kqueue_add_wake(crt__reactor *r)
{
#ifdef EVFILT_USER
    return crt__kqueue_add_one(r, crt__kqueue_change(0, EVFILT_USER, EV_ADD | EV_CLEAR | EV_RECEIPT, CRT__WAKE_TOKEN));
#else
    int e = crt__pipe(r->wake, true), flags = EV_ADD | EV_CLEAR | EV_RECEIPT;
    if (e) return r->wake[0] = r->wake[1] = -1, e;
    return crt__kqueue_add_one(r, crt__kqueue_change(r->wake[0], EVFILT_READ, flags, CRT__WAKE_TOKEN));
#endif
}
static void crt__reactor_wake(crt__reactor *r)
{
    int e = errno;
#ifdef EVFILT_USER
    struct kevent c = crt__kqueue_change(0, EVFILT_USER, 0, CRT__WAKE_TOKEN);   // triggering sets udata anew
    c.fflags = NOTE_TRIGGER;
    (void)kevent(r->kq, &c, 1, NULL, 0, NULL);
#else
    crt__pipe_wake(r->wake[1]);
#endif
    errno = e;
}
static void crt__kqueue_woken(crt__reactor *r)
{
    if (r->wake[0] >= 0) crt__pipe_drain(r->wake[0]);
}

// --- making and ending

static size_t crt__reactor_bytes(int max_events)
{
    return sizeof(crt__reactor) + (size_t)max_events * sizeof(struct kevent);
}
static crt__reactor *crt__reactor_new(crt_runtime *rt, int max_events, int *error)
{
    crt__reactor *r = crt__alloc(rt, crt__reactor_bytes(max_events));
    *error = CRT_ENOMEM;
    if (!r) return NULL;
    r->rt = rt;
    r->max_events = max_events;
    r->wake[0] = r->wake[1] = -1;
    r->kq = crt__fd_own(kqueue());
    *error = r->kq < 0 || fcntl(r->kq, F_SETFD, FD_CLOEXEC) ? -errno : crt__kqueue_add_wake(r);
    if (!*error) return r;
    crt__reactor_free(rt, r);
    return NULL;
}
static void crt__reactor_free(crt_runtime *rt, crt__reactor *r)
{
    for (int i = 0; i < 2; i++)
        if (r->wake[i] >= 0) close(r->wake[i]);
    if (r->kq >= 0) close(r->kq);
    crt__free(rt, r, crt__reactor_bytes(r->max_events));
}
static crt__fd crt__reactor_fd(crt__reactor *r) { return r->kq; }

// --- children
//
// The kernel tells of an end a little before the child can be waited for, and does not
// know one that is between the two (ESRCH). So the event is held back until it can: a
// timer looks again. Nothing is ever removed: an end removes its filter, only a child
// that has been waited for may lend its number to another, and that one removes first
// what its number left behind. What is told for an earlier record looks no more: its
// timer, which the number names, would take the place of the later one's.
//
// NetBSD and OpenBSD do not let one watch a child that runs set-user-id (EACCES): SIGCHLD tells of it.

#ifndef CRT_NO_PROCESS
static bool crt__child_ended(int pid)
{
    siginfo_t info;
    memset(&info, 0, sizeof info);
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid;   // -1: somebody has its status
}
static int crt__child_look_again(crt__reactor *r, int pid, uint64_t token)
{
    struct kevent c = crt__kqueue_change(pid, EVFILT_TIMER, EV_ADD | EV_ONESHOT | EV_RECEIPT, token);
    c.data = 1;   // ms
    return crt__kqueue_add_one(r, c);
}
static uint32_t crt__child_event(crt__reactor *r, int pid, uint64_t token)
{
    if (crt__sock_token(crt__sock_at(r->rt, (uint32_t)token)) != token) return 0;   // it is closed
    while (!crt__child_ended(pid)) {
        if (!crt__child_look_again(r, pid, token)) return 0;
        crt__nap();   // the system has no timer left (ENOMEM); the end is a moment away
    }
    return CRT__READABLE;
}
static int crt__child_add(crt__reactor *r, int pid, uint64_t token)
{
    struct kevent c[2];
    uint32_t known;
    c[0] = crt__kqueue_change(pid, EVFILT_PROC, EV_DELETE | EV_RECEIPT, token);
    c[1] = crt__kqueue_change(pid, EVFILT_PROC, EV_ADD | EV_ONESHOT | EV_RECEIPT, token);
    c[1].fflags = NOTE_EXIT;
    int e = crt__kqueue_apply(r, c, 2);
    if (e || c[1].data != ESRCH) return e ? e : -(int)c[1].data;
    if ((known = crt__child_event(r, pid, token)) != 0) (void)crt__sock_event(r->rt, token, known);
    return 0;
}
#else
static int crt__child_add(crt__reactor *r, int pid, uint64_t token)
{
    (void)r, (void)pid, (void)token;
    return -ENOSYS;
}
static uint32_t crt__child_event(crt__reactor *r, int pid, uint64_t token)
{
    (void)r, (void)pid, (void)token;
    return 0;
}
#endif

// --- descriptors

static void crt__reactor_remove(crt__reactor *r, crt__fd fd, uint64_t token)
{
    (void)token;
    struct kevent c[2];
    int e = errno;
    if (fd & CRT__CHILD) return;
    c[0] = crt__kqueue_change(fd, EVFILT_READ, EV_DELETE | EV_RECEIPT, 0);
    c[1] = crt__kqueue_change(fd, EVFILT_WRITE, EV_DELETE | EV_RECEIPT, 0);
    (void)crt__kqueue_apply(r, c, 2);   // what it has not got: ENOENT
    errno = e;
}
// A filter that could not be added: what is known about its half. 0 if nothing is.
// Old systems say EPIPE of a pipe whose other end is closed.
static uint32_t crt__kqueue_refused(int error, uint32_t closed) { return error == -EPIPE ? closed : 0; }

static int crt__reactor_add(crt__reactor *r, crt__fd fd, uint64_t token)
{
    const int add = EV_ADD | EV_CLEAR | EV_RECEIPT;
    struct kevent c[2];
    if (fd & CRT__CHILD) return crt__child_add(r, (int)(fd & ~(crt__fd)CRT__CHILD), token);
    c[0] = crt__kqueue_change(fd, EVFILT_READ, add, token);
    c[1] = crt__kqueue_change(fd, EVFILT_WRITE, add, token);
    int e = crt__kqueue_apply(r, c, 2);
    if (e) return e;
    int in = -(int)c[0].data, out = -(int)c[1].data;
    if (!in && !out) return 0;
    uint32_t known = crt__kqueue_refused(in, CRT__READABLE | CRT__READ_CLOSED) |
                     crt__kqueue_refused(out, CRT__WRITABLE | CRT__WRITE_CLOSED);
    // Some can only be read (another kqueue, some devices) and say EINVAL to the other half.
    if (!known && (in || out != -EINVAL) && (out || in != -EINVAL)) {
        crt__reactor_remove(r, fd, token);
        return in ? in : out;
    }
    if (known) (void)crt__sock_event(r->rt, token, known);
    return 0;
}
static int crt__reactor_add_priority(crt__reactor *r, crt__fd fd, uint64_t token)
{
#if defined(EVFILT_EXCEPT) && defined(NOTE_OOB)
    struct kevent c = crt__kqueue_change(fd, EVFILT_EXCEPT, EV_ADD | EV_CLEAR | EV_RECEIPT, token);
    c.fflags = NOTE_OOB;
    int e = crt__kqueue_add_one(r, c);
    return e == -EINVAL ? 0 : e;   // no socket: it will never have any
#else
    (void)r, (void)fd, (void)token;
    return -EOPNOTSUPP;
#endif
}

// --- waiting

static int crt__kqueue_wait(crt__reactor *r, int64_t timeout_ns)
{
    const int64_t most = (int64_t)CRT__KQUEUE_MOST_SECONDS * 1000000000;   // some refuse more
    if (timeout_ns > most) timeout_ns = most;
    struct timespec t = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};
    return kevent(r->kq, NULL, 0, r->events, (crt__kqueue_count)r->max_events, timeout_ns < 0 ? NULL : &t);
}
// As epoll would say it: the end of a direction closes it, and a socket that broke says
// with which error.
static uint32_t crt__kqueue_ready(crt__reactor *r, const struct kevent *e, uint64_t token)
{
    uint32_t ready = 0, closed = 0;
    if (e->filter == EVFILT_READ) {
        ready = CRT__READABLE;
        closed = CRT__READ_CLOSED;
    } else if (e->filter == EVFILT_WRITE) {
        ready = CRT__WRITABLE;
        closed = CRT__WRITE_CLOSED;
    } else if (e->filter == EVFILT_PROC || e->filter == EVFILT_TIMER) {
        return crt__child_event(r, (int)e->ident, token);
    } else {
#ifdef NOTE_OOB   // macOS tells of ordinary data there too; at an end, fflags is an error
        return !(e->flags & EV_EOF) && (e->fflags & NOTE_OOB) ? CRT__PRIORITY : 0;
#endif
    }
    if (e->flags & EV_EOF) ready |= closed | (e->fflags ? CRT__IO_ERROR : 0);
    return ready;
}
static int crt__reactor_wait(crt__reactor *r, crt_runtime *rt, int64_t timeout_ns)
{
    int n = crt__kqueue_wait(r, timeout_ns), events = 0;
    for (int i = 0; i < n; i++) {
        const struct kevent *e = &r->events[i];
        uint64_t token = crt__kqueue_token(rt, e);
        if (token == CRT__WAKE_TOKEN) {
            crt__kqueue_woken(r);
            continue;
        }
        events++;
        uint32_t ready = crt__kqueue_ready(r, e, token);
        // Both directions of a descriptor often come together: one event to the runtime.
        for (; i + 1 < n && r->events[i + 1].udata == e->udata; i++)
            ready |= crt__kqueue_ready(r, &r->events[i + 1], token);
        if (token == CRT__SIGNAL_TOKEN) crt__signal_wake(rt);
        else if (ready) crt__io_event(rt, token, ready);
    }
    return events;
}

#endif   // CRT_PLATFORM_KQUEUE_H
