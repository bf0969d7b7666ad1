// Every system call that crt makes on Linux fails in turn, at each place where it is made,
// with each errno that its manual page names. The operation survives it or answers with
// that very error; nothing hangs, and no descriptor, memory, thread, child or name is left;
// afterwards the same runtime does the same work without an error. Then a storm: most
// calls are interrupted and move one byte, by seed.
//
//   test_syscalls                           the first call of each kind in each part of the work
//   SYSCALL_DEPTH=9 test_syscalls           the first nine, and every error on every runtime
//   DETAILS=1 test_syscalls                 a table of what happened
//   test_syscalls only tcp accept4 EMFILE 2 on current_thread      one case again
//   test_syscalls interrupted 7             the storms of one seed
//
// The calls are caught by macros: crt.h is compiled with t_open for open, and so on, raw
// ones (syscall) by their number.
#if defined(__linux__) && !defined(CRT_PLATFORM_KQUEUE)
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static long memory_live;   // atomic
static void *t_malloc(size_t n)
{
    void *p = malloc(n);
    if (p) __atomic_fetch_add(&memory_live, 1, __ATOMIC_SEQ_CST);
    return p;
}
static void t_free(void *p)
{
    if (p) __atomic_fetch_sub(&memory_live, 1, __ATOMIC_SEQ_CST);
    free(p);
}
#define CRT_MALLOC(n) t_malloc(n)
#define CRT_FREE(p) t_free(p)

// ---- which calls, and what each may say ------------------------------------------

// What is no errno: a transfer that moves a byte, one that moves nothing.
enum { ONE_BYTE = -1, NOTHING = -2 };
#define PATH_ERRORS EACCES, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR
// X(name, what an operation must survive, what it may answer with)
#define MUST(...) {__VA_ARGS__ 0}
#define MAY(...) {__VA_ARGS__}   /* and zeros */
#define CALLS(X)                                                                                                      \
    X(socket, MUST(), MAY(EACCES, EAFNOSUPPORT, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTONOSUPPORT))            \
    X(socketpair, MUST(), MAY(EAFNOSUPPORT, EMFILE, ENFILE, EOPNOTSUPP, EPROTONOSUPPORT))                             \
    X(bind, MUST(), MAY(EACCES, EADDRINUSE, EADDRNOTAVAIL, EBADF, EINVAL, ENOTSOCK, EROFS, PATH_ERRORS))              \
    X(listen, MUST(), MAY(EADDRINUSE, EBADF, ENOTSOCK, EOPNOTSUPP))                                                   \
    X(accept4, MUST(EINTR, EAGAIN, ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ),                                          \
      MAY(ENOMEM, EBADF, EINVAL, ENOTSOCK, EOPNOTSUPP, EPERM, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, EHOSTUNREACH))        \
    X(connect, MUST(EINTR, EINPROGRESS, ),                                                                            \
      MAY(EACCES, EPERM, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EALREADY, EBADF, ECONNREFUSED, EISCONN,     \
          ENETUNREACH, ENOTSOCK, EPROTOTYPE, ETIMEDOUT))                                                              \
    X(getsockopt, MUST(), MAY(EBADF, EINVAL, ENOPROTOOPT, ENOTSOCK))                                                  \
    X(setsockopt, MUST(), MAY(EBADF, EINVAL, ENOPROTOOPT, ENOTSOCK, EDOM, ENOMEM))                                    \
    X(getsockname, MUST(), MAY(EBADF, EINVAL, ENOBUFS, ENOTSOCK))                                                     \
    X(getpeername, MUST(), MAY(EBADF, EINVAL, ENOBUFS, ENOTSOCK, ENOTCONN))                                           \
    X(shutdown, MUST(ENOTCONN, ), MAY(EBADF, EINVAL, ENOTSOCK))                                                       \
    X(recv, MUST(EINTR, EAGAIN, ONE_BYTE, ),                                                                          \
      MAY(EBADF, ECONNREFUSED, ECONNRESET, EINVAL, ENOMEM, ENOTCONN, ENOTSOCK, ETIMEDOUT))                            \
    X(send, MUST(EINTR, EAGAIN, ONE_BYTE, ),                                                                          \
      MAY(EACCES, EBADF, ECONNRESET, EDESTADDRREQ, EINVAL, EISCONN, EMSGSIZE, ENOBUFS, ENOMEM, ENOTCONN, ENOTSOCK,    \
          EOPNOTSUPP, EPIPE))                                                                                         \
    X(sendmsg, MUST(EINTR, EAGAIN, ONE_BYTE, ), MAY(EBADF, ECONNRESET, EINVAL, ENOBUFS, ENOMEM, ENOTCONN, EPIPE))     \
    X(recvfrom, MUST(EINTR, EAGAIN, ), MAY(EBADF, ECONNREFUSED, EINVAL, ENOMEM, ENOTSOCK))                            \
    X(sendto, MUST(EINTR, EAGAIN, ), MAY(EACCES, EBADF, ECONNREFUSED, EDESTADDRREQ, EINVAL, EMSGSIZE, ENOBUFS,        \
                                         ENOMEM, ENOTSOCK, EHOSTUNREACH, ENETUNREACH))                                \
    X(recvmmsg, MUST(EINTR, EAGAIN, ENOSYS, ), MAY(EBADF, ECONNREFUSED, EINVAL, ENOMEM, ENOTSOCK))                    \
    X(sendmmsg, MUST(EINTR, EAGAIN, ENOSYS, ), MAY(EACCES, EBADF, ECONNREFUSED, EINVAL, EMSGSIZE, ENOBUFS, ENOMEM))   \
    X(recvmsg, MUST(EINTR, EAGAIN, ), MAY(EBADF, ECONNREFUSED, EINVAL, ENOMEM, ENOTSOCK))                             \
    X(readv, MUST(EINTR, EAGAIN, ONE_BYTE, ), MAY(EBADF, EINVAL, EIO, EISDIR, ECONNRESET))                            \
    X(writev, MUST(EINTR, EAGAIN, ONE_BYTE, ), MAY(EBADF, EINVAL, EIO, EPIPE, ENOSPC, EPERM))                         \
    X(read, MUST(EINTR, ONE_BYTE, ), MAY(EBADF, EINVAL, EIO, EISDIR))                                                 \
    X(write, MUST(EINTR, ONE_BYTE, ),                                                                                 \
      MAY(NOTHING, EBADF, EDESTADDRREQ, EDQUOT, EFBIG, EINVAL, EIO, ENOSPC, EPERM, EPIPE))                            \
    X(wake, MUST(EINTR, EAGAIN, ), MAY()) /* an eventfd: it is full, perhaps */                                       \
    X(wake_pipe, MUST(EINTR, EAGAIN, ), MAY())    /* full: then somebody is awake */                                  \
    X(report, MUST(EINTR, ), MAY())       /* four bytes into a pipe: all of them or none */                           \
    X(pread, MUST(EINTR, ONE_BYTE, ), MAY(EBADF, EINVAL, EIO, EISDIR, ENXIO, EOVERFLOW, ESPIPE))                      \
    X(pwrite, MUST(EINTR, ONE_BYTE, ), MAY(NOTHING, EBADF, EDQUOT, EFBIG, EINVAL, EIO, ENOSPC, EPERM, ESPIPE))        \
    X(epoll_create1, MUST(), MAY(EINVAL, EMFILE, ENFILE, ENOMEM))                                                     \
    X(eventfd, MUST(), MAY(EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM))                                                   \
    X(epoll_ctl, MUST(), MAY(EBADF, EEXIST, EINVAL, ELOOP, ENOENT, ENOMEM, ENOSPC, EPERM))                            \
    X(epoll_wait, MUST(EINTR, ), MAY(EBADF, EINVAL))                                                                  \
    X(epoll_pwait2, MUST(EINTR, ENOSYS, EPERM, ), MAY(EBADF, EINVAL))                                                 \
    X(poll, MUST(EINTR, ENOMEM, ), MAY(EINVAL))                                                                       \
    X(futex, MUST(EINTR, EAGAIN, ETIMEDOUT, ), MAY(EINVAL))                                                           \
    X(pipe2, MUST(), MAY(EMFILE, ENFILE, EINVAL))                                                                     \
    X(fcntl, MUST(), MAY(EBADF, EINVAL, EMFILE, EPERM))                                                               \
    X(open, MUST(EINTR, ), MAY(EDQUOT, EEXIST, EINVAL, EISDIR, EMFILE, ENFILE, ENODEV, ENOSPC, ENXIO, EOVERFLOW,      \
                               EPERM, EROFS, ETXTBSY, EWOULDBLOCK, PATH_ERRORS))                                      \
    X(openat, MUST(EINTR, ), MAY(EINVAL, EMFILE, ENFILE, EPERM, PATH_ERRORS))                                         \
    X(close, MUST(EINTR, ), MAY(EBADF, EIO, ENOSPC, EDQUOT))                                                          \
    X(lseek, MUST(), MAY(EBADF, EINVAL, ENXIO, EOVERFLOW, ESPIPE))                                                    \
    X(fsync, MUST(EINTR, ), MAY(EBADF, EDQUOT, EINVAL, EIO, ENOSPC, EROFS))                                           \
    X(fdatasync, MUST(EINTR, ), MAY(EBADF, EDQUOT, EINVAL, EIO, ENOSPC, EROFS))                                       \
    X(ftruncate, MUST(EINTR, ), MAY(EBADF, EFBIG, EINVAL, EIO, EPERM, EROFS))                                         \
    X(fstat, MUST(), MAY(EBADF, ENOMEM, EOVERFLOW))                                                                   \
    X(stat, MUST(), MAY(EOVERFLOW, PATH_ERRORS))                                                                      \
    X(lstat, MUST(), MAY(EOVERFLOW, PATH_ERRORS))                                                                     \
    X(fstatat, MUST(EACCES, ENOENT, ENOMEM, ), MAY(EBADF)) /* then it is of some other kind */                        \
    X(fchmod, MUST(), MAY(EBADF, EIO, EPERM, EROFS))                                                                  \
    X(chmod, MUST(), MAY(EIO, EPERM, EROFS, PATH_ERRORS))                                                             \
    X(mkdir, MUST(), MAY(EDQUOT, EEXIST, EINVAL, EMLINK, ENOSPC, EPERM, EROFS, PATH_ERRORS))                          \
    X(rmdir, MUST(), MAY(EBUSY, EINVAL, ENOTEMPTY, EPERM, EROFS, PATH_ERRORS))                                        \
    X(unlink, MUST(), MAY(EBUSY, EIO, EISDIR, EPERM, EROFS, PATH_ERRORS))                                             \
    X(unlinkat, MUST(), MAY(EBADF, EBUSY, EIO, ENOTEMPTY, EPERM, EROFS, PATH_ERRORS))                                 \
    X(rename, MUST(), MAY(EBUSY, EDQUOT, EINVAL, EISDIR, EMLINK, ENOSPC, EPERM, EROFS, EXDEV, PATH_ERRORS))           \
    X(link, MUST(), MAY(EDQUOT, EEXIST, EIO, EMLINK, ENOSPC, EPERM, EROFS, EXDEV, PATH_ERRORS))                       \
    X(symlink, MUST(), MAY(EDQUOT, EEXIST, EIO, ENOSPC, EPERM, EROFS, PATH_ERRORS))                                   \
    X(readlink, MUST(), MAY(EINVAL, EIO, PATH_ERRORS))                                                                \
    X(realpath, MUST(), MAY(EIO, PATH_ERRORS))                                                                        \
    X(mkostemp, MUST(), MAY(EEXIST, EMFILE, ENFILE, ENOSPC, EROFS, PATH_ERRORS))                                      \
    X(mkdtemp, MUST(), MAY(EEXIST, EDQUOT, ENOSPC, EROFS, PATH_ERRORS))                                               \
    X(fdopendir, MUST(), MAY(EBADF, ENOMEM))                                                                          \
    X(readdir, MUST(), MAY(EBADF, EIO))                                                                               \
    X(closedir, MUST(EBADF, ), MAY(EINTR))                                                                            \
    X(copy_file_range, MUST(EINTR, ONE_BYTE, ENOSYS, EXDEV, EINVAL, EOPNOTSUPP, EPERM, ETXTBSY, ),                    \
      MAY(EBADF, EFBIG, EIO, EISDIR, ENOMEM, ENOSPC, EOVERFLOW))                                                      \
    X(sendfile, MUST(EINTR, EINVAL, ), MAY(EAGAIN, EBADF, EIO, ENOMEM))                                               \
    X(vfork, MUST(), MAY(EAGAIN, ENOMEM, ENOSYS))                                                                     \
    X(fork, MUST(), MAY(EAGAIN, ENOMEM, ENOSYS))                                                                      \
    X(execve, MUST(), MAY(E2BIG, EACCES, EAGAIN, EINVAL, EIO, EISDIR, ELIBBAD, ELOOP, EMFILE, ENAMETOOLONG, ENFILE,   \
                          ENOENT, ENOEXEC, ENOMEM, ENOTDIR, EPERM, ETXTBSY))                                          \
    X(dup2, MUST(EINTR, ), MAY(EBADF, EBUSY, EMFILE))                                                                 \
    X(setsid, MUST(), MAY(EPERM))                                                                                     \
    X(setpgid, MUST(), MAY(EACCES, EINVAL, EPERM, ESRCH))                                                             \
    X(chdir, MUST(), MAY(EIO, PATH_ERRORS))                                                                           \
    X(sigaction, MUST(), MAY(EINVAL))                                                                                 \
    X(pthread_sigmask, MUST(), MAY(EINVAL))                                                                           \
    X(sigtimedwait, MUST(EAGAIN, EINTR, ), MAY(EINVAL))                                                               \
    X(waitid, MUST(EINTR, ), MAY(ECHILD))                                                                             \
    X(waitpid, MUST(EINTR, ), MAY(ECHILD))                                                                            \
    X(kill, MUST(), MAY(EINVAL, EPERM, ESRCH))                                                                        \
    X(pidfd_open, MUST(EINVAL, ENODEV, ENOSYS, EPERM, ESRCH, ), MAY(EMFILE, ENFILE, ENOMEM))                          \
    X(close_range, MUST(EINVAL, EMFILE, ENOMEM, ENOSYS, ), MAY(EPERM))                                                \
    X(getdents64, MUST(ENOENT, ), MAY(EBADF, EINVAL, ENOTDIR))                                                        \
    X(setgid, MUST(), MAY(EINVAL, EPERM))                                                                             \
    X(setuid, MUST(), MAY(EAGAIN, EINVAL, EPERM))                                                                     \
    X(setgroups, MUST(), MAY(EINVAL, ENOMEM, EPERM))                                                                  \
    X(getrlimit, MUST(), MAY(EINVAL))                                                                                 \
    X(pthread_create, MUST(), MAY(EAGAIN, EINVAL, EPERM))                                                             \
    X(pthread_attr_init, MUST(), MAY(ENOMEM))                                                                         \
    X(pthread_attr_setstacksize, MUST(), MAY(EINVAL))                                                                 \
    X(sched_getaffinity, MUST(EINVAL, EPERM, ESRCH, ), MAY(EFAULT))                                                   \
    X(fopen, MUST(EACCES, EINTR, EMFILE, ENFILE, ENOENT, ENOMEM, ), MAY(EINVAL))                                      \
    X(getaddrinfo, MUST(), MAY(EINTR, EMFILE, ENFILE, ENOBUFS, EIO))                                                  \
    X(lookup, MUST(), MAY(EAI_AGAIN, EAI_FAIL, EAI_NONAME, EAI_NODATA, EAI_FAMILY, EAI_MEMORY, EAI_SERVICE))
// Without an entry, since they have no error that could be met: clock_gettime, getpid,
// gettid, sysconf, prctl(PR_SET_NAME), pthread_self, _join, _detach, _attr_destroy.

#define CALL_ENUM(name, must, may) C_##name,
enum { CALLS(CALL_ENUM) CALL_COUNT };
#define CALL_ROW(name, must, may) {#name, must, may},
static const struct { const char *name; int must[12], may[28]; } calls[CALL_COUNT] = {CALLS(CALL_ROW)};

// ---- the faults --------------------------------------------------------------------

// Shared with children, who make some of the calls: vfork is fork under an emulator.
static struct {
    int call, error;
    long at;                // the at-th fails from the begin of counting on; 0: none
    long count[CALL_COUNT]; // atomic
    bool fired;             // atomic
    uint32_t storm, seed;   // per mille of interrupted calls; atomic
    uint32_t number;        // atomic
    long interrupted, shortened;
} *shared_plan;
#define plan (*shared_plan)

// A kernel that has none of these yet.
static bool old_kernel;
static bool t_is_new(int call)
{
    return call == C_close_range || call == C_recvmmsg || call == C_sendmmsg || call == C_copy_file_range ||
           call == C_pidfd_open || call == C_epoll_pwait2;
}
// What this call says: 0, let it pass.
static int t_fault(int call)
{
    if (old_kernel && t_is_new(call)) return ENOSYS;
    long n = __atomic_add_fetch(&plan.count[call], 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&plan.at, __ATOMIC_SEQ_CST) != n || plan.call != call) return 0;
    __atomic_store_n(&plan.fired, true, __ATOMIC_SEQ_CST);
    return plan.error;
}
static uint32_t t_roll(void)
{
    uint64_t x = (uint64_t)plan.seed << 32 | __atomic_fetch_add(&plan.number, 1, __ATOMIC_RELAXED);
    x = (x ^ x >> 31) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 29) * 0x94d049bb133111ebu;
    return (uint32_t)(x ^ x >> 32);
}
// The same for calls that may be interrupted, in a storm too.
static int t_interrupt(int call)
{
    int e = t_fault(call);
    uint32_t storm = __atomic_load_n(&plan.storm, __ATOMIC_RELAXED);
    if (e || !storm || t_roll() % 1000 >= storm) return e;
    __atomic_fetch_add(&plan.interrupted, 1, __ATOMIC_RELAXED);
    return EINTR;
}
// And of those that move bytes: may this one be short?
static int t_transfer(int call, size_t n)
{
    int e = t_interrupt(call);
    if (!e && n > 8 && __atomic_load_n(&plan.storm, __ATOMIC_RELAXED)) {
        __atomic_fetch_add(&plan.shortened, 1, __ATOMIC_RELAXED);
        return ONE_BYTE;
    }
    return e;
}
static int t_error(int e)
{
    if (e > 0) errno = e;
    return e > 0;
}
static int t_fails(int call) { return t_error(t_fault(call)); }
static int t_fails_or_eintr(int call) { return t_error(t_interrupt(call)); }

// After an untrue EAGAIN, or less than there was, an edge-triggered kernel owes an edge.
enum { WATCHED = 4096 };
static struct { int epoll; uint64_t data; } watched[WATCHED];   // atomic; epoll + 1, 0: nobody
static void t_rearm(int fd)
{
    int e = errno, epoll = fd >= 0 && fd < WATCHED ? __atomic_load_n(&watched[fd].epoll, __ATOMIC_ACQUIRE) : 0;
    if (!epoll) return;
    struct epoll_event event = {EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET,
                                {.u64 = __atomic_load_n(&watched[fd].data, __ATOMIC_ACQUIRE)}};
    (void)epoll_ctl(epoll - 1, EPOLL_CTL_MOD, fd, &event);
    errno = e;
}

// ---- the calls ---------------------------------------------------------------------

static int t_socket(int family, int type, int protocol)
{
    return t_fails(C_socket) ? -1 : socket(family, type, protocol);
}
static int t_socketpair(int family, int type, int protocol, int *fd)
{
    return t_fails(C_socketpair) ? -1 : socketpair(family, type, protocol, fd);
}
static int t_bind(int fd, const struct sockaddr *a, socklen_t n) { return t_fails(C_bind) ? -1 : bind(fd, a, n); }
static int t_listen(int fd, int backlog) { return t_fails(C_listen) ? -1 : listen(fd, backlog); }
static int t_accept4(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
    if (!t_fails_or_eintr(C_accept4)) return accept4(fd, a, n, flags);
    t_rearm(fd);
    return -1;
}
static bool t_is_datagram(int fd)
{
    int type = 0;
    socklen_t size = sizeof type;
    return !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) && type == SOCK_DGRAM;
}
// What is interrupted or takes its time goes on all the same.
static int t_connect(int fd, const struct sockaddr *a, socklen_t n)
{
    int e = a->sa_family == AF_UNIX ? t_fault(C_connect) : t_interrupt(C_connect);
    if (e == EINPROGRESS && t_is_datagram(fd)) e = 0;
    if (e && e != EINTR && e != EINPROGRESS) return errno = e, -1;
    int r = connect(fd, a, n);
    if (r == 0 && e) r = -1, errno = e;
    return r;
}
static int t_getsockopt(int fd, int level, int name, void *value, socklen_t *n)
{
    return t_fails(C_getsockopt) ? -1 : getsockopt(fd, level, name, value, n);
}
static int t_setsockopt(int fd, int level, int name, const void *value, socklen_t n)
{
    return t_fails(C_setsockopt) ? -1 : setsockopt(fd, level, name, value, n);
}
static int t_getsockname(int fd, struct sockaddr *a, socklen_t *n)
{
    return t_fails(C_getsockname) ? -1 : getsockname(fd, a, n);
}
static int t_getpeername(int fd, struct sockaddr *a, socklen_t *n)
{
    if (!t_fails(C_getpeername)) return getpeername(fd, a, n);
    t_rearm(fd);   // ENOTCONN: then an edge will tell when it is
    return -1;
}
// ENOTCONN: the peer has gone already, so that it hears of the end all the same.
static int t_shutdown(int fd, int how)
{
    int e = t_fault(C_shutdown);
    if (e && e != ENOTCONN) return errno = e, -1;
    int r = shutdown(fd, how);
    return t_error(e) ? -1 : r;
}
static ssize_t t_recv(int fd, void *buf, size_t n, int flags)
{
    int e = t_transfer(C_recv, n);
    ssize_t k = e > 0 ? (errno = e, -1) : recv(fd, buf, e == ONE_BYTE && n ? 1 : n, flags);
    if (e) t_rearm(fd);
    return k;
}
static ssize_t t_send(int fd, const void *buf, size_t n, int flags)
{
    int e = t_transfer(C_send, n);
    ssize_t k = e > 0 ? (errno = e, -1) : send(fd, buf, e == ONE_BYTE && n ? 1 : n, flags);
    if (e) t_rearm(fd);
    return k;
}
// The first byte of several pieces.
static struct iovec t_byte(const struct iovec *pieces, size_t count)
{
    size_t i = 0;
    while (i < count && !pieces[i].iov_len) i++;
    return (struct iovec){i < count ? pieces[i].iov_base : NULL, i < count};
}
static ssize_t t_sendmsg(int fd, const struct msghdr *m, int flags)
{
    int e = t_is_datagram(fd) ? t_interrupt(C_sendmsg) : t_transfer(C_sendmsg, 9);
    if (e > 0) return t_rearm(fd), errno = e, -1;
    if (!e || t_is_datagram(fd)) return sendmsg(fd, m, flags);
    struct msghdr one = *m;
    struct iovec byte = t_byte(m->msg_iov, m->msg_iovlen);
    one.msg_iov = &byte;
    one.msg_iovlen = 1;
    ssize_t k = sendmsg(fd, &one, flags);
    t_rearm(fd);
    return k;
}
static ssize_t t_readv(int fd, const struct iovec *pieces, int count)
{
    int e = t_transfer(C_readv, 9);
    if (e > 0) return t_rearm(fd), errno = e, -1;
    struct iovec byte = t_byte(pieces, (size_t)count);
    ssize_t k = e ? readv(fd, &byte, 1) : readv(fd, pieces, count);
    if (e) t_rearm(fd);
    return k;
}
static ssize_t t_writev(int fd, const struct iovec *pieces, int count)
{
    int e = t_transfer(C_writev, 9);
    if (e > 0) return t_rearm(fd), errno = e, -1;
    struct iovec byte = t_byte(pieces, (size_t)count);
    ssize_t k = e ? writev(fd, &byte, 1) : writev(fd, pieces, count);
    if (e) t_rearm(fd);
    return k;
}
static ssize_t t_recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *a, socklen_t *len)
{
    if (!t_fails_or_eintr(C_recvfrom)) return recvfrom(fd, buf, n, flags, a, len);
    t_rearm(fd);
    return -1;
}
static ssize_t t_sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *a, socklen_t len)
{
    if (!t_fails_or_eintr(C_sendto)) return sendto(fd, buf, n, flags, a, len);
    t_rearm(fd);
    return -1;
}
static int t_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *t)
{
    if (!t_fails_or_eintr(C_recvmmsg)) return recvmmsg(fd, m, n, flags, t);
    t_rearm(fd);
    return -1;
}
static int t_sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
    if (!t_fails_or_eintr(C_sendmmsg)) return sendmmsg(fd, m, n, flags);
    t_rearm(fd);
    return -1;
}
static ssize_t t_recvmsg(int fd, struct msghdr *m, int flags)
{
    if (!t_fails_or_eintr(C_recvmsg)) return recvmsg(fd, m, flags);
    t_rearm(fd);
    return -1;
}
static ssize_t t_read(int fd, void *buf, size_t n)
{
    int e = t_transfer(C_read, n);
    return e > 0 ? (errno = e, -1) : read(fd, buf, e == ONE_BYTE && n > 8 ? 1 : n);
}
// What moves nothing, although something was to be written, is met on odd devices.
static ssize_t t_write(int fd, const void *buf, size_t n)
{
    int call = n == 8 ? C_wake : n == 1 ? C_wake_pipe : n == 4 ? C_report : C_write, e = t_transfer(call, n);
    if (e == NOTHING) return 0;
    if (call == C_wake_pipe && e == EAGAIN) (void)!write(fd, buf, n);   // by another, perhaps
    return e > 0 ? (errno = e, -1) : write(fd, buf, e == ONE_BYTE ? 1 : n);
}
static ssize_t t_pread(int fd, void *buf, size_t n, off_t at)
{
    int e = t_transfer(C_pread, n);
    return e > 0 ? (errno = e, -1) : pread(fd, buf, e == ONE_BYTE && n ? 1 : n, at);
}
static ssize_t t_pwrite(int fd, const void *buf, size_t n, off_t at)
{
    int e = t_transfer(C_pwrite, n);
    if (e == NOTHING) return 0;
    return e > 0 ? (errno = e, -1) : pwrite(fd, buf, e == ONE_BYTE && n ? 1 : n, at);
}
static int t_epoll_create1(int flags) { return t_fails(C_epoll_create1) ? -1 : epoll_create1(flags); }
static int t_eventfd(unsigned n, int flags) { return t_fails(C_eventfd) ? -1 : eventfd(n, flags); }
static int t_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
    bool add = op == EPOLL_CTL_ADD;
    if (fd >= 0 && fd < WATCHED) {
        __atomic_store_n(&watched[fd].epoll, add ? epoll + 1 : 0, __ATOMIC_RELEASE);
        if (add) __atomic_store_n(&watched[fd].data, event->data.u64, __ATOMIC_RELEASE);
    }
    return add && t_fails(C_epoll_ctl) ? -1 : epoll_ctl(epoll, op, fd, event);   // what is there can be taken out
}
static int t_epoll_wait(int epoll, struct epoll_event *events, int n, int ms)
{
    return t_fails_or_eintr(C_epoll_wait) ? -1 : epoll_wait(epoll, events, n, ms);
}
static int t_poll(struct pollfd *p, nfds_t n, int ms) { return t_fails_or_eintr(C_poll) ? -1 : poll(p, n, ms); }
static int t_pipe2(int *fd, int flags) { return t_fails(C_pipe2) ? -1 : pipe2(fd, flags); }
static int t_fcntl(int fd, int cmd, ...)
{
    va_list list;
    va_start(list, cmd);
    int arg = cmd == F_SETFL || cmd == F_SETFD || cmd == F_DUPFD_CLOEXEC ? va_arg(list, int) : 0;
    va_end(list);
    return t_fails(C_fcntl) ? -1 : fcntl(fd, cmd, arg);
}
static int t_open(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    unsigned mode = flags & O_CREAT ? va_arg(list, unsigned) : 0;
    va_end(list);
    return t_fails_or_eintr(C_open) ? -1 : open(path, flags, mode);
}
static int t_openat(int dir, const char *path, int flags) { return t_fails_or_eintr(C_openat) ? -1 : openat(dir, path, flags); }
static int t_close(int fd)
{
    int e = t_interrupt(C_close);
    if (fd >= 0 && fd < WATCHED) __atomic_store_n(&watched[fd].epoll, 0, __ATOMIC_RELEASE);
    int r = close(fd);
    return t_error(e) ? -1 : r;
}
static off_t t_lseek(int fd, off_t at, int whence) { return t_fails(C_lseek) ? -1 : lseek(fd, at, whence); }
static int t_fsync(int fd) { return t_fails_or_eintr(C_fsync) ? -1 : fsync(fd); }
static int t_fdatasync(int fd) { return t_fails_or_eintr(C_fdatasync) ? -1 : fdatasync(fd); }
static int t_ftruncate(int fd, off_t n) { return t_fails_or_eintr(C_ftruncate) ? -1 : ftruncate(fd, n); }
static int t_fstat(int fd, struct stat *st) { return t_fails(C_fstat) ? -1 : fstat(fd, st); }
static int t_stat(const char *path, struct stat *st) { return t_fails(C_stat) ? -1 : stat(path, st); }
static int t_lstat(const char *path, struct stat *st) { return t_fails(C_lstat) ? -1 : lstat(path, st); }
static int t_fchmod(int fd, mode_t mode) { return t_fails(C_fchmod) ? -1 : fchmod(fd, mode); }
static int t_chmod(const char *path, mode_t mode) { return t_fails(C_chmod) ? -1 : chmod(path, mode); }
static int t_mkdir(const char *path, mode_t mode) { return t_fails(C_mkdir) ? -1 : mkdir(path, mode); }
static int t_rmdir(const char *path) { return t_fails(C_rmdir) ? -1 : rmdir(path); }
static int t_unlink(const char *path) { return t_fails(C_unlink) ? -1 : unlink(path); }
static int t_unlinkat(int dir, const char *path, int flags) { return t_fails(C_unlinkat) ? -1 : unlinkat(dir, path, flags); }
static int t_rename(const char *a, const char *b) { return t_fails(C_rename) ? -1 : rename(a, b); }
static int t_link(const char *a, const char *b) { return t_fails(C_link) ? -1 : link(a, b); }
static int t_symlink(const char *a, const char *b) { return t_fails(C_symlink) ? -1 : symlink(a, b); }
static ssize_t t_readlink(const char *path, char *buf, size_t n) { return t_fails(C_readlink) ? -1 : readlink(path, buf, n); }
static char *t_realpath(const char *path, char *buf) { return t_fails(C_realpath) ? NULL : realpath(path, buf); }
static int t_mkostemp(char *name, int flags) { return t_fails(C_mkostemp) ? -1 : mkostemp(name, flags); }
static char *t_mkdtemp(char *name) { return t_fails(C_mkdtemp) ? NULL : mkdtemp(name); }
static DIR *t_fdopendir(int fd) { return t_fails(C_fdopendir) ? NULL : fdopendir(fd); }
static struct dirent *t_readdir(DIR *d)
{
    struct dirent *e = t_fails(C_readdir) ? NULL : readdir(d);
    if (e && old_kernel) e->d_type = DT_UNKNOWN;   // many file systems do not tell
    return e;
}
static int t_fstatat(int dir, const char *path, struct stat *st, int flags)
{
    return t_fails(C_fstatat) ? -1 : fstatat(dir, path, st, flags);
}
static int t_closedir(DIR *d)
{
    int e = t_fault(C_closedir), r = closedir(d);
    return t_error(e) ? -1 : r;
}
static ssize_t t_sendfile(int to, int from, off_t *at, size_t n)
{
    if (old_kernel) return errno = EINVAL, -1;   // into sockets alone, before 2.6.33
    return t_fails_or_eintr(C_sendfile) ? -1 : sendfile(to, from, at, n);
}
static int t_execve(const char *path, char *const *argv, char *const *env)
{
    return t_fails(C_execve) ? -1 : execve(path, argv, env);
}
static int t_dup2(int from, int to) { return t_fails_or_eintr(C_dup2) ? -1 : dup2(from, to); }
static pid_t t_setsid(void) { return t_fails(C_setsid) ? -1 : setsid(); }
static int t_setpgid(pid_t pid, pid_t group) { return t_fails(C_setpgid) ? -1 : setpgid(pid, group); }
static int t_chdir(const char *path) { return t_fails(C_chdir) ? -1 : chdir(path); }
static int t_sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
    return t_fails(C_sigaction) ? -1 : sigaction(sig, act, old);
}
static int t_pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    int e = t_fault(C_pthread_sigmask), r = pthread_sigmask(how, set, old);
    return e ? e : r;
}
static int t_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *t)
{
    int e = t_interrupt(C_sigtimedwait);
    if (e == EINTR) return errno = e, -1;
    int r = sigtimedwait(set, info, t);   // EAGAIN: somebody has taken it away already
    return t_error(e) ? -1 : r;
}
static int t_waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
    return t_fails_or_eintr(C_waitid) ? -1 : waitid(type, id, info, options);
}
static pid_t t_waitpid(pid_t pid, int *status, int options)
{
    return t_fails_or_eintr(C_waitpid) ? -1 : waitpid(pid, status, options);
}
static int t_kill(pid_t pid, int sig) { return t_fails(C_kill) ? -1 : kill(pid, sig); }
static int t_getrlimit(int what, struct rlimit *most) { return t_fails(C_getrlimit) ? -1 : getrlimit(what, most); }
static int t_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *arg)
{
    int e = t_fault(C_pthread_create);
    return e ? e : pthread_create(t, a, f, arg);
}
static int t_pthread_attr_init(pthread_attr_t *a)
{
    int e = t_fault(C_pthread_attr_init);
    return e ? e : pthread_attr_init(a);
}
static int t_pthread_attr_setstacksize(pthread_attr_t *a, size_t n)
{
    int e = t_fault(C_pthread_attr_setstacksize);
    return e ? e : pthread_attr_setstacksize(a, n);
}
static int t_sched_getaffinity(pid_t pid, size_t n, cpu_set_t *set)
{
    return t_fails(C_sched_getaffinity) ? -1 : sched_getaffinity(pid, n, set);
}
// The groups of an old kernel, and lines that no kernel writes.
static FILE *t_fopen(const char *path, const char *mode)
{
    static char groups[] = "?\n9:name\n5:cpuset:/none\n4:cpu,cpuacct:/\n3:cpu:\n0::/nobody/has/this\n";
    if (t_fails(C_fopen)) return NULL;
    if (old_kernel && !strcmp(path, "/proc/self/cgroup")) return fmemopen(groups, sizeof groups - 1, "r");
    return fopen(path, mode);
}

// Any name is 127.0.0.1.
static long lists_live;
static int t_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **list)
{
    (void)host, (void)hints;
    int e = t_fault(C_lookup);
    if (e) return e;
    if (t_fails(C_getaddrinfo)) return EAI_SYSTEM;
    struct { struct addrinfo info; struct sockaddr_in a; } *x = calloc(1, sizeof *x);
    x->a.sin_family = AF_INET;
    x->a.sin_port = htons((uint16_t)atoi(port));
    x->a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    x->info.ai_addr = (struct sockaddr *)(void *)&x->a;
    x->info.ai_addrlen = sizeof x->a;
    __atomic_fetch_add(&lists_live, 1, __ATOMIC_SEQ_CST);
    *list = &x->info;
    return 0;
}
static void t_freeaddrinfo(struct addrinfo *list)
{
    __atomic_fetch_sub(&lists_live, 1, __ATOMIC_SEQ_CST);
    free(list);
}

// Raw calls: id by number, and how many arguments there are to read.
static long t_syscall(long number, ...)
{
    static const struct { long number; int call, count; } known[] = {
        {SYS_gettid, -1, 0},
#ifdef SYS_futex
        {SYS_futex, C_futex, 6},
#endif
#ifdef SYS_futex_time64
        {SYS_futex_time64, C_futex, 6},
#endif
#ifdef SYS_recvfrom
        {SYS_recvfrom, C_recv, 6},
        {SYS_sendto, C_send, 6},
#endif
        {SYS_epoll_pwait2, C_epoll_pwait2, 6},
        {SYS_copy_file_range, C_copy_file_range, 6},
        {SYS_pidfd_open, C_pidfd_open, 2},
        {SYS_close_range, C_close_range, 3},
        {SYS_getdents64, C_getdents64, 3},
        {SYS_setgid, C_setgid, 1},
        {SYS_setuid, C_setuid, 1},
        {SYS_setgroups, C_setgroups, 2},
#ifdef SYS_setgid32
        {SYS_setgid32, C_setgid, 1},
        {SYS_setuid32, C_setuid, 1},
        {SYS_setgroups32, C_setgroups, 2},
#endif
    };
    long a[6] = {0};
    size_t i = 0, n = sizeof known / sizeof known[0];
    va_list list;
    while (i < n && known[i].number != number) i++;
    if (i == n) {
        fprintf(stderr, "system call %ld has no entry in the table\n", number);
        abort();
    }
    va_start(list, number);
    for (int k = 0; k < known[i].count; k++) a[k] = va_arg(list, long);
    va_end(list);
    int call = known[i].call, e = 0;
    if (call == C_recv) return t_recv((int)a[0], (void *)a[1], (size_t)a[2], (int)a[3]);
    if (call == C_send) return t_send((int)a[0], (const void *)a[1], (size_t)a[2], (int)a[3]);
    if (call == C_futex && (a[1] & 127) == 1) return syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);   // a wake-up
    if (call == C_futex || call == C_epoll_pwait2) e = t_interrupt(call);
    else if (call == C_copy_file_range) e = t_transfer(call, (size_t)a[4]);
    else if (call >= 0) e = t_fault(call);
    if (call == C_futex && e == ETIMEDOUT && !a[3]) e = EINTR;   // without a limit it cannot say that
    if (t_error(e)) return -1;
    if (call == C_copy_file_range && e == ONE_BYTE) a[4] = 1;
    return syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

// Names of functions that crt passes on, or has as members, are renamed wherever they
// stand; the others where they are called.
#define recv t_recv
#define send t_send
#define close t_close
#define shutdown t_shutdown
#define getsockname t_getsockname
#define getpeername t_getpeername
#define bind t_bind
#define socket(...) t_socket(__VA_ARGS__)
#define socketpair(...) t_socketpair(__VA_ARGS__)
#define listen(...) t_listen(__VA_ARGS__)
#define accept4(...) t_accept4(__VA_ARGS__)
#define connect(...) t_connect(__VA_ARGS__)
#define getsockopt(...) t_getsockopt(__VA_ARGS__)
#define setsockopt(...) t_setsockopt(__VA_ARGS__)
#define sendmsg(...) t_sendmsg(__VA_ARGS__)
#define recvmsg(...) t_recvmsg(__VA_ARGS__)
#define recvfrom(...) t_recvfrom(__VA_ARGS__)
#define sendto(...) t_sendto(__VA_ARGS__)
#define recvmmsg(...) t_recvmmsg(__VA_ARGS__)
#define sendmmsg(...) t_sendmmsg(__VA_ARGS__)
#define readv(...) t_readv(__VA_ARGS__)
#define writev(...) t_writev(__VA_ARGS__)
#define read(...) t_read(__VA_ARGS__)
#define write(...) t_write(__VA_ARGS__)
#define pread(...) t_pread(__VA_ARGS__)
#define pwrite(...) t_pwrite(__VA_ARGS__)
#define epoll_create1(...) t_epoll_create1(__VA_ARGS__)
#define eventfd(...) t_eventfd(__VA_ARGS__)
#define epoll_ctl(...) t_epoll_ctl(__VA_ARGS__)
#define epoll_wait(...) t_epoll_wait(__VA_ARGS__)
#define poll(...) t_poll(__VA_ARGS__)
#define pipe2(...) t_pipe2(__VA_ARGS__)
#define fcntl(...) t_fcntl(__VA_ARGS__)
#define open(...) t_open(__VA_ARGS__)
#define openat(...) t_openat(__VA_ARGS__)
#define lseek(...) t_lseek(__VA_ARGS__)
#define fsync(...) t_fsync(__VA_ARGS__)
#define fdatasync(...) t_fdatasync(__VA_ARGS__)
#define ftruncate(...) t_ftruncate(__VA_ARGS__)
#define fstat(...) t_fstat(__VA_ARGS__)
#define stat(...) t_stat(__VA_ARGS__)
#define lstat(...) t_lstat(__VA_ARGS__)
#define fchmod(...) t_fchmod(__VA_ARGS__)
#define chmod(...) t_chmod(__VA_ARGS__)
#define mkdir(...) t_mkdir(__VA_ARGS__)
#define rmdir(...) t_rmdir(__VA_ARGS__)
#define unlink(...) t_unlink(__VA_ARGS__)
#define unlinkat(...) t_unlinkat(__VA_ARGS__)
#define rename(...) t_rename(__VA_ARGS__)
#define link(...) t_link(__VA_ARGS__)
#define symlink(...) t_symlink(__VA_ARGS__)
#define readlink(...) t_readlink(__VA_ARGS__)
#define realpath(...) t_realpath(__VA_ARGS__)
#define mkostemp(...) t_mkostemp(__VA_ARGS__)
#define mkdtemp(...) t_mkdtemp(__VA_ARGS__)
#define fdopendir(...) t_fdopendir(__VA_ARGS__)
#define readdir(...) t_readdir(__VA_ARGS__)
#define fstatat(...) t_fstatat(__VA_ARGS__)
#define closedir(...) t_closedir(__VA_ARGS__)
#define sendfile(...) t_sendfile(__VA_ARGS__)
#define vfork() (t_fails(C_vfork) ? -1 : vfork())
#define fork() (t_fails(C_fork) ? -1 : fork())
#define execve(...) t_execve(__VA_ARGS__)
#define dup2(...) t_dup2(__VA_ARGS__)
#define setsid(...) t_setsid(__VA_ARGS__)
#define setpgid(...) t_setpgid(__VA_ARGS__)
#define chdir(...) t_chdir(__VA_ARGS__)
#define sigaction(...) t_sigaction(__VA_ARGS__)
#define pthread_sigmask(...) t_pthread_sigmask(__VA_ARGS__)
#define sigtimedwait(...) t_sigtimedwait(__VA_ARGS__)
#define waitid(...) t_waitid(__VA_ARGS__)
#define waitpid(...) t_waitpid(__VA_ARGS__)
#define kill(...) t_kill(__VA_ARGS__)
#define getrlimit(...) t_getrlimit(__VA_ARGS__)
#define pthread_create(...) t_pthread_create(__VA_ARGS__)
#define pthread_attr_init(...) t_pthread_attr_init(__VA_ARGS__)
#define pthread_attr_setstacksize(...) t_pthread_attr_setstacksize(__VA_ARGS__)
#define sched_getaffinity(...) t_sched_getaffinity(__VA_ARGS__)
#define fopen(...) t_fopen(__VA_ARGS__)
#define getaddrinfo(...) t_getaddrinfo(__VA_ARGS__)
#define freeaddrinfo(...) t_freeaddrinfo(__VA_ARGS__)
#define syscall(...) t_syscall(__VA_ARGS__)

#define CRT_IMPLEMENTATION
#include "crt.h"

#undef recv
#undef send
#undef close
#undef shutdown
#undef bind
#undef read
#undef write
#undef open
#undef fcntl
#undef mkdir
#undef rmdir
#undef unlink
#undef poll
#undef socketpair
#undef socket
#undef dup2
#undef readdir
#undef closedir
#undef kill
#undef waitpid
#undef waitid
#undef sigaction
#undef stat
#undef lstat
#undef unlinkat
#undef pipe2
#include "harness.h"

// ---- what is left --------------------------------------------------------------------

static int entries(const char *path)
{
    int n = 0;
    DIR *d = opendir(path);
    if (!d) return -1;
    while (readdir(d)) n++;
    closedir(d);
    return n;
}
static char place[] = "/tmp/crt-syscalls-XXXXXX";   // where files and sockets are made
static const char *in_place(const char *name)
{
    static char text[8][128];
    static int turn;
    char *t = text[turn++ % 8];
    snprintf(t, sizeof text[0], "%s/%s", place, name);
    return t;
}
static void clear_out(const char *path)
{
    char below[512];
    struct dirent *e;
    DIR *d = opendir(path);
    while (d && (e = readdir(d))) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        snprintf(below, sizeof below, "%s/%s", path, e->d_name);
        if (unlink(below)) {
            clear_out(below);
            rmdir(below);
        }
    }
    if (d) closedir(d);
}
static void silent(int level, const char *message, void *user) { (void)level, (void)message, (void)user; }

// ---- the work: parts, each ended by its first error --------------------------------

enum { BYTES = 3000 };
typedef struct world {
    crt_frame co, one, two;
    CRT_SELECT(2) both;
    crt_listener *l;
    crt_stream *a, *b, *x;
    crt_udp *u, *v;
    crt_file *f;
    crt_dir *d;
    crt_process *p;
    crt_output output;
    crt_join_handle *join;
    crt_fs_dirent entry;
    crt_fs_stat st;
    crt_addr addr, other;
    crt_peer_cred cred;
    crt_udp_msg msgs[3];
    crt_exit_status status;
    crt_process_desc desc;
    crt_timer timer;
    crt_iovec pieces[3], in[2];
    char *text, *text2;
    void *data;
    size_t n;
    intptr_t result;
    int64_t at;
    crt_poll r, k, q, s;
    int i, fd[2];
    char host[64], buf[BYTES], out[BYTES];
    const char *args[5];
} world;

#define TRY_AS(w, ...)                          \
    do {                                        \
        CRT_AWAIT((w) = (__VA_ARGS__));         \
        if ((w) < 0) CRT_RETURN(w);             \
    } while (0)
#define TRY(...) TRY_AS(self->r, __VA_ARGS__)
#define CALL(...)                               \
    do {                                        \
        self->r = (__VA_ARGS__);                \
        if (self->r < 0) CRT_RETURN(self->r);   \
    } while (0)

static void close_sockets(world *self)
{
    crt_close(&self->l);
    crt_close(&self->a);
    crt_close(&self->b);
    crt_close(&self->x);
    crt_close(&self->u);
    crt_close(&self->v);
}
// Both ends of self->a and self->b, in both directions, by all kinds of calls.
static crt_poll talk_a(world *self, crt_cx *cx)
{
    CRT_BEGIN(&self->one, cx);
    TRY_AS(self->k, crt_write_all(cx, self->a, self->out, BYTES));
    self->pieces[0] = (crt_iovec){self->out, 100};
    self->pieces[1] = (crt_iovec){self->out + 100, 0};
    self->pieces[2] = (crt_iovec){self->out + 100, BYTES - 100};
    TRY_AS(self->k, crt_writev_all(cx, self->a, self->pieces, 3));
    TRY_AS(self->k, crt_shutdown(cx, self->a));
    CRT_END;
}
static crt_poll talk_b(world *self, crt_cx *cx, bool socket)
{
    CRT_BEGIN(&self->two, cx);
    if (socket) TRY_AS(self->q, crt_peek(cx, self->b, self->buf, 10));
    TRY_AS(self->q, crt_read_exact(cx, self->b, self->buf, BYTES));
    CHECK_EQ(memcmp(self->buf, self->out, BYTES), 0);
    memset(self->buf, 0, BYTES);
    for (self->n = 0; self->n < BYTES; self->n += (size_t)self->q) {
        self->in[0] = (crt_iovec){self->buf + self->n, 1};
        self->in[1] = (crt_iovec){self->buf + self->n + 1, BYTES - self->n - 1};
        TRY_AS(self->q, crt_readv(cx, self->b, self->in, 2));
        if (self->q == 0) CRT_RETURN(CRT_EEOF);
    }
    CHECK_EQ(memcmp(self->buf, self->out, BYTES), 0);
    if (socket) {
        TRY_AS(self->q, crt_read(cx, self->b, self->buf, 9));
        CHECK_EQ(self->q, 0);
    }
    CRT_END;
}
#define TALK(socket)                                                                                                  \
    TRY(crt_try_join(cx, &self->both, crt_on(cx, 0, talk_a(self, cx)), crt_on(cx, 1, talk_b(self, cx, socket))))

static crt_poll tcp(world *self, crt_cx *cx)
{
    static const crt_listen_desc listening = {.send_buffer = 65536, .ttl = 9, .tos = 16};
    static const crt_connect_desc connecting = {.local = "127.0.0.1:0", .keepalive = {true, 60, 10, 3}, .linger_on = true,
                                                .linger = 1, .recv_buffer = 65536, .reuseaddr = true};
    CRT_BEGIN(self, cx);
    TRY(crt_tcp_listen(cx, "127.0.0.1:0", &listening, &self->l));
    CALL(crt_local_addr(self->l, &self->addr));
    crt_addr_format(&self->addr, self->host, sizeof self->host);
    TRY(crt_try_join(cx, &self->both, crt_on(cx, 0, crt_tcp_connect_ex(cx, self->host, &connecting, &self->a)),
                     crt_on(cx, 1, crt_accept(cx, self->l, &self->b, &self->other))));
    TALK(true);
    CALL(crt_stream_set_keepalive(self->b, true));
    CALL(crt_stream_get_nodelay(self->b));
    CALL(crt_stream_get_ttl(self->b));
    CALL(crt_peer_addr(self->a, &self->other));
    CHECK(crt_addr_equal(&self->addr, &self->other));
    CALL(crt_stream_take_error(self->a));
    CALL(crt_stream_get_linger(self->a, &self->i));
    CHECK_EQ(self->i, 1);
    CALL(crt_stream_set_linger(self->b, 0));
    CALL(crt_listener_set_backlog(self->l, 64));
    CRT_FINALLY
        close_sockets(self);
    CRT_END;
}
// By a name, and bytes one at a time while the other side sleeps between.
static crt_poll slowly(world *self, crt_cx *cx)
{
    CRT_BEGIN(&self->one, cx);
    for (self->i = 0; self->i < 4; self->i++) {
        TRY_AS(self->k, crt_write(cx, self->a, self->out + self->i, 1));
        TRY_AS(self->k, crt_sleep(cx, CRT_US(20)));
    }
    CRT_END;
}
static crt_poll name(world *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    TRY(crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    CALL(crt_local_addr(self->l, &self->addr));
    snprintf(self->host, sizeof self->host, "anybody:%d", crt_addr_port(&self->addr));
    TRY(crt_resolve(cx, self->host, &self->other, 1));
    CHECK(crt_addr_equal(&self->addr, &self->other));
    TRY(crt_try_join(cx, &self->both, crt_on(cx, 0, crt_tcp_connect(cx, self->host, &self->a)),
                     crt_on(cx, 1, crt_accept(cx, self->l, &self->b, NULL))));
    TRY(crt_try_join(cx, &self->both, crt_on(cx, 0, slowly(self, cx)),
                     crt_on(cx, 1, self->q = crt_read_exact(cx, self->b, self->buf, 4))));
    CHECK_EQ(memcmp(self->buf, self->out, 4), 0);
    CRT_FINALLY
        close_sockets(self);
    CRT_END;
}
static crt_poll unix_sockets(world *self, crt_cx *cx)
{
    static const crt_listen_desc listening = {.unlink_stale = true, .mode = 0600};
    CRT_BEGIN(self, cx);
    unlink(in_place("sock"));
    TRY(crt_unix_listen(cx, in_place("sock"), NULL, &self->l));
    crt_close(&self->l);   // a stale file is left
    TRY(crt_unix_listen(cx, in_place("sock"), &listening, &self->l));
    TRY(crt_try_join(cx, &self->both, crt_on(cx, 0, crt_unix_connect(cx, in_place("sock"), &self->a)),
                     crt_on(cx, 1, crt_accept(cx, self->l, &self->b, NULL))));
    CALL(crt_unix_peer_cred(self->a, &self->cred));
    CHECK_EQ(self->cred.pid, getpid());
    TALK(true);
    CRT_FINALLY
        close_sockets(self);
        unlink(in_place("sock"));
    CRT_END;
}
static crt_poll pairs(world *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    CALL(crt_stream_pair(cx, &self->a, &self->b));
    TALK(true);
    close_sockets(self);
    CALL(crt_pipe(cx, &self->b, &self->a));
    TALK(false);
    crt_close(&self->b);
    TRY_AS(self->k, (self->q = crt_writev(cx, self->a, self->pieces, 1)) == -EPIPE ? 0 : self->q);   // and no SIGPIPE
    CRT_FINALLY
        close_sockets(self);
    CRT_END;
}
static bool has_multicast;   // not under an emulator, which does not know the option
static bool knows_multicast(void)
{
    struct ip_mreqn m = {.imr_ifindex = (int)if_nametoindex("lo")};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool knows = !(setsockopt)(fd, IPPROTO_IP, IP_MULTICAST_IF, &m, sizeof m) || errno != ENOPROTOOPT;
    close(fd);
    return knows;
}
static crt_poll datagrams(world *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    TRY(crt_udp_bind(cx, "127.0.0.1:0", &self->u));
    TRY(crt_udp_bind(cx, "127.0.0.1:0", &self->v));
    CALL(crt_local_addr(self->v, &self->addr));
    CALL(crt_local_addr(self->u, &self->other));
    TRY(crt_udp_send_to(cx, self->u, "hello", 5, &self->addr));
    TRY(crt_udp_recv_from(cx, self->v, self->buf, 99, &self->other));
    CHECK_EQ(self->r, 5);
    TRY(crt_udp_connect(cx, self->u, &self->addr));
    for (int i = 0; i < 3; i++) self->msgs[i] = (crt_udp_msg){.buf = self->out + i, .size = 3};
    for (self->i = 0; self->i < 3; self->i += (int)self->r)
        TRY(crt_udp_send_many(cx, self->u, self->msgs + self->i, (size_t)(3 - self->i)));
    for (self->i = 0; self->i < 3; self->i += (int)self->r) {
        for (int i = 0; i < 3; i++) self->msgs[i] = (crt_udp_msg){.buf = self->buf, .size = 3};
        TRY(crt_udp_recv_many(cx, self->v, self->msgs, 3));
        CHECK_EQ(self->msgs[0].len, 3);
    }
    CALL(crt_udp_disconnect(self->u));
    if (has_multicast) CALL(crt_udp_set_multicast_interface(self->v, if_nametoindex("lo")));
    close_sockets(self);
    CALL(crt_unix_dgram_pair(cx, &self->u, &self->v));
    TRY(crt_udp_send(cx, self->u, "abc", 3));
    TRY(crt_udp_recv(cx, self->v, self->buf, 99));
    CHECK_EQ(self->r, 3);
    CRT_FINALLY
        close_sockets(self);
    CRT_END;
}
// Descriptors of others: they stay theirs whatever happens.
static crt_poll foreign(world *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    self->fd[0] = self->fd[1] = -1;
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, self->fd), 0);
    CHECK_EQ(write(self->fd[1], "x", 1), 1);
    TRY(crt_fd_readable(cx, self->fd[0]));
    CALL(crt_stream_from_fd(cx, self->fd[0], CRT_FD_DUP, &self->a));
    TRY(crt_read(cx, self->a, self->buf, 9));
    CHECK_EQ(self->r, 1);
    crt_close(&self->a);
    CALL(crt_stream_from_fd(cx, self->fd[0], CRT_FD_OWN, &self->b));
    CHECK_EQ(crt_stream_into_fd(&self->b), self->fd[0]);
    CRT_FINALLY
        close_sockets(self);
        for (int i = 0; i < 2; i++)
            if (self->fd[i] >= 0) CHECK_EQ(close(self->fd[i]), 0);
    CRT_END;
}
static crt_poll files(world *self, crt_cx *cx)
{
    static const crt_fs_open_desc creating = {.read = true, .write = true, .create = true, .truncate = true};
    CRT_BEGIN(self, cx);
    TRY(crt_fs_open(cx, in_place("f"), &creating, &self->f));
    TRY(crt_file_write_all(cx, self->f, self->out, BYTES));
    TRY(crt_file_sync(cx, self->f));
    TRY(crt_file_seek(cx, self->f, 100, CRT_SEEK_SET, &self->at));
    TRY(crt_file_read_exact(cx, self->f, self->buf, BYTES - 100));
    CHECK_EQ(memcmp(self->buf, self->out + 100, BYTES - 100), 0);
    TRY(crt_file_pwrite_all(cx, self->f, self->out, 50, 5000));
    TRY(crt_file_pread_exact(cx, self->f, self->buf, 50, 5000));
    CHECK_EQ(memcmp(self->buf, self->out, 50), 0);
    TRY(crt_file_sync_data(cx, self->f));
    TRY(crt_file_set_len(cx, self->f, BYTES));
    TRY(crt_file_set_mode(cx, self->f, 0640));
    TRY(crt_file_metadata(cx, self->f, &self->st));
    CHECK(self->st.size == BYTES && self->st.mode == 0640);
    crt_close(&self->f);
    TRY(crt_fs_copy(cx, in_place("f"), in_place("g"), NULL));
    TRY(crt_fs_read_file(cx, in_place("g"), &self->data, &self->n));
    CHECK(self->n == BYTES && !memcmp(self->data, self->out, BYTES));
    TRY(crt_fs_write_file(cx, in_place("h"), self->out, BYTES));
    TRY(crt_fs_temp_file(cx, place, &self->f, &self->text));
    crt_close(&self->f);
    TRY(crt_fs_temp_file(cx, place, &self->f, NULL));
    CRT_FINALLY
        crt_close(&self->f);
        crt_free(self->data);
        crt_free(self->text);
    CRT_END;
}
static crt_poll names(world *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    TRY(crt_fs_write_file(cx, in_place("f"), "abc", 3));
    TRY(crt_fs_hard_link(cx, in_place("f"), in_place("g")));
    TRY(crt_fs_symlink(cx, "f", in_place("s")));
    TRY(crt_fs_read_link(cx, in_place("s"), &self->text));
    CHECK(!strcmp(self->text, "f"));
    TRY(crt_fs_canonicalize(cx, in_place("s"), &self->text2));
    CHECK(!strcmp(self->text2, in_place("f")));
    TRY(crt_fs_lstat(cx, in_place("s"), &self->st));
    CHECK_EQ(self->st.kind, CRT_FS_SYMLINK);
    TRY(crt_fs_exists(cx, in_place("g")));
    TRY(crt_fs_set_mode(cx, in_place("g"), 0600));
    TRY(crt_fs_rename(cx, in_place("g"), in_place("h")));
    TRY(crt_fs_remove_file(cx, in_place("h")));
    CRT_FINALLY
        crt_free(self->text);
        crt_free(self->text2);
    CRT_END;
}
static crt_poll directories(world *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    TRY(crt_fs_create_dir(cx, in_place("d"), 0));
    TRY(crt_fs_remove_dir(cx, in_place("d")));
    TRY(crt_fs_create_dir_all(cx, in_place("a/b/c"), 0));
    CHECK(!mkdir(in_place("a/b/e"), 0700) && !mkdir(in_place("a/x"), 0700) && !(symlink)("x", in_place("a/link")));
    TRY(crt_fs_read_dir(cx, in_place("a/b"), &self->d));
    for (self->i = 0;; self->i++) {
        TRY(crt_dir_next(cx, self->d, &self->entry));
        if (self->r == 0) break;
    }
    CHECK_EQ(self->i, 2);
    TRY(crt_fs_remove_dir_all(cx, in_place("a")));
    TRY(crt_fs_temp_dir(cx, place, &self->text));
    CRT_FINALLY
        crt_close(&self->d);
        crt_free(self->text);
    CRT_END;
}
static crt_poll signals(world *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 3; self->i++) {
        // Its first poll, which installs the handler, comes before the second arm's.
        CRT_AWAIT(self->r = crt_select_biased(cx, &self->both, crt_on(cx, 0, self->k = crt_signal_recv(cx, SIGUSR1)),
                                              crt_on(cx, 1, (crt_poll)(kill(getpid(), SIGUSR1), CRT_PENDING))));
        if (self->k < 0) CRT_RETURN(self->k);
    }
    CRT_END;
}
static intptr_t job(void *arg) { return *(int *)arg + 1; }
static crt_poll timers_and_jobs(world *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    self->i = 41;
    CALL(crt_spawn_blocking(cx, &self->join, job, &self->i));
    TRY(crt_join(cx, &self->join, &self->result));
    CHECK_EQ(self->result, 42);
    self->at = crt_now(cx);
    TRY(crt_sleep(cx, CRT_US(300)));
    CHECK(crt_now(cx) - self->at >= CRT_US(300));
    CRT_FINALLY
        crt_detach(&self->join);
    CRT_END;
}
static crt_poll standard(world *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    CALL(crt_stdout(cx, &self->a));
    TRY(crt_write_all(cx, self->a, self->out, BYTES));
    TRY(crt_flush(cx, self->a));
    CALL(crt_stdin(cx, &self->b));
    TRY(crt_read(cx, self->b, self->buf, 99));
    CHECK_EQ(self->r, 0);   // run.sh gives /dev/null, and so do we
    CRT_FINALLY
        close_sockets(self);
    CRT_END;
}
static crt_poll processes(world *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    self->args[0] = "cat";
    self->desc = (crt_process_desc){.argv = self->args};
    self->output.input = self->out;
    self->output.input_n = BYTES;
    TRY(crt_process_output(cx, &self->desc, &self->output));
    // A child may not want all of its input.
    if (!__atomic_load_n(&plan.fired, __ATOMIC_SEQ_CST) || plan.call != C_writev || plan.error != EPIPE) CHECK_EQ(self->output.out_n, BYTES);
    CHECK(!memcmp(self->output.out, self->out, self->output.out_n));
    CRT_FINALLY
        crt_output_free(&self->output);
    CRT_END;
}
static crt_poll children(world *self, crt_cx *cx)
{
    static const crt_process_fd fds[] = {{2, 7, 0}, {2, 8, 0}};
    CRT_BEGIN(self, cx);
    self->args[0] = "/bin/sleep";
    self->args[1] = "1000";
    self->desc = (crt_process_desc){.argv = self->args, .kill_on_drop = true, .new_session = true, .dir = "/", .set_gid = true,
        .gid = getgid(), .set_uid = true, .uid = getuid(), .in = {.kind = CRT_STDIO_NULL}, .out = {.kind = CRT_STDIO_NULL},
        .err = {.kind = CRT_STDIO_STREAM, .stream = &self->a}, .fds = fds, .fd_count = 2};
    CALL(crt_pipe(cx, &self->b, &self->a));
    TRY(crt_process_spawn(cx, &self->desc, &self->p));
    CHECK(!self->a);
    CALL(crt_process_signal(self->p, SIGTERM));
    TRY(crt_process_wait(cx, self->p, &self->status));
    CHECK_EQ(self->status.signal, SIGTERM);
    crt_close(&self->p);
    self->desc.new_session = self->desc.set_uid = self->desc.set_gid = false;
    self->desc.err = (crt_stdio){.kind = CRT_STDIO_STDOUT};
    self->desc.group = CRT_PROCESS_NEW_GROUP;
    TRY(crt_process_spawn(cx, &self->desc, &self->p));   // one that is dropped while it runs
    crt_close(&self->p);
    self->args[0] = "/nobody/has/this";
    CRT_AWAIT(self->r = crt_process_spawn(cx, &self->desc, &self->p));
    if (self->r != -ENOENT) CRT_RETURN(self->r < 0 ? self->r : CRT_EPROTO);
    CRT_FINALLY
        crt_close(&self->p);
        close_sockets(self);
    CRT_END;
}
static const struct { const char *name; crt_poll (*run)(world *, crt_cx *); } parts[] = {
    {"tcp", tcp}, {"name", name}, {"unix", unix_sockets}, {"pairs", pairs}, {"datagrams", datagrams}, {"foreign", foreign},
    {"files", files}, {"names", names}, {"directories", directories}, {"signals", signals}, {"timers", timers_and_jobs},
    {"standard", standard}, {"processes", processes}, {"children", children},
};
enum { PARTS = sizeof parts / sizeof parts[0] };
static const struct { const char *name; int flavor, workers; bool old; int some; } kinds[] = {
    {"current_thread", CRT_CURRENT_THREAD, 1, false, 1},
    {"2 workers", CRT_MULTI_THREAD, 2, false, 3},
    {"an old kernel", CRT_CURRENT_THREAD, 1, true, 3},
};
enum { KINDS = 3 };

// ---- one run -----------------------------------------------------------------------

static const char *only[5];   // part, call, error, at, kind
static int part_now;
static crt_poll part_run(void *frame, crt_cx *cx) { return parts[part_now].run(frame, cx); }
// Like a process that has just begun: no signal is handled, the pipe is not there.
static void forget_signals(void)
{
    if (crt__signals.ready) {
        close(crt__signals.pipe[0]);
        close(crt__signals.pipe[1]);
    }
    crt__signals.ready = false;
    for (int sig = 1; sig < CRT__SIGNALS; sig++) {
        if (crt__signals.installed[sig]) signal(sig, SIG_DFL);
        crt__signals.installed[sig] = 0;
    }
}
static world *new_world(void)
{
    world *w = calloc(1, sizeof *w);
    for (int i = 0; i < BYTES; i++) w->out[i] = (char)(i * 2654435761u >> 24);
    return w;
}
static int begun_fds, begun_threads;
static void begin_run(void)
{
    forget_signals();
    clear_out(place);
    begun_fds = entries("/proc/self/fd");
    begun_threads = test_thread_count();
    memset(plan.count, 0, sizeof plan.count);
    plan.fired = false;
}
// Threads that are told to end are gone a little later.
static void nothing_is_left(bool children_may_be)
{
    int status;
    forget_signals();
    for (int i = 0; i < 50000 && (test_thread_count() != begun_threads || entries("/proc/self/fd") != begun_fds); i++) test_pause_us(200);
    CHECK_EQ(test_thread_count(), begun_threads);
    CHECK_EQ(entries("/proc/self/fd"), begun_fds);
    CHECK_EQ(memory_live, 0);
    CHECK_EQ(lists_live, 0);
    while (waitpid(-1, &status, WNOHANG) >= 0)
        if (!children_may_be) CHECK(!"a child is left");
        else test_pause_us(200);
    CHECK_EQ(errno, ECHILD);
}
// The part once, with the plan; then, on the same runtime, without. What it said the first time.
static crt_poll run_part(const crt_config *c, int part)
{
    crt_runtime *rt;
    world *w = new_world();
    crt_poll first = crt_runtime_new(c, &rt), again;
    part_now = part;
    if (first == 0) first = crt_block_on(rt, part_run, w);
    else CHECK(rt == NULL);
    __atomic_store_n(&plan.at, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&plan.storm, 0, __ATOMIC_SEQ_CST);
    CHECK(w->co.resume == 0);
    free(w);
    if (!rt) CHECK_EQ(crt_runtime_new(c, &rt), 0);
    clear_out(place);
    w = new_world();
    again = crt_block_on(rt, part_run, w);
    CHECK_EQ(again, 0);
    free(w);
    CHECK_EQ(crt_runtime_shutdown(rt, CRT_SEC(10)), 0);
    crt_runtime_drop(&rt);
    return first;
}

// ---- every call, every error ---------------------------------------------------------

static struct { long places, runs, survived, answered; } table[CALL_COUNT];
static bool must_survive(int call, int e)
{
    for (const int *m = calls[call].must; *m; m++)
        if (*m == e) return true;
    return false;
}
// What crt says for an error, where it is not that error.
static bool is_answer(int call, int e, crt_poll r)
{
    switch (call) {
    case C_lookup: return r == (e == EAI_MEMORY ? CRT_ENOMEM : CRT_ENOTFOUND);
    // Not there any more, a link now: then the entry is removed for what it is.
    case C_unlinkat:
    case C_openat: return r == -e || (part_now == 8 && (r == -EISDIR || r == -ENOTEMPTY || r == -ENOTDIR));
    case C_fcntl: return r == -e || r == -EBADF;   // is it open? says that it is not
    case C_fdopendir: return r == -e || r == CRT_ENOMEM;   // the second: on the way down, whatever it was
    // Nobody knows whether the socket's file is stale, so it stays.
    case C_socket:
    case C_connect:
    case C_unlink:
    case C_lstat: return r == -e || (part_now == 2 && r == -EADDRINUSE);
    case C_pthread_create:
    case C_pthread_attr_init:
    case C_pthread_attr_setstacksize: return r == -e || r == CRT_ENOMEM;
    case C_waitid: return r == -e || (e == ECHILD && r == -ESRCH);   // before a signal: it may be another's by now
    case C_write:
    case C_pwrite: return r == (e == NOTHING ? -EIO : -e);
    // The peer of who fails may be told first.
    case C_send:
    case C_sendmsg:
    case C_writev:
    case C_recv:
    case C_readv: return r == -e || r == CRT_EEOF || r == -EPIPE || r == -ECONNRESET;
    default: return r == -e;
    }
}
// EBADF; where the C library has no such names, errno_9.
static const char *error_name(int e)
{
#ifdef __GLIBC__
    return strerrorname_np(e);
#else
    static char name[24];
    snprintf(name, sizeof name, "errno_%d", e);
    return name;
#endif
}
static void one_case(const crt_config *c, const char *kind, int part, int call, int e, long at)
{
    char of[32];
    snprintf(of, sizeof of, "%s", e == ONE_BYTE ? "ONE_BYTE" : e == NOTHING ? "NOTHING" : call == C_lookup ? gai_strerror(e) : error_name(e));
    if (only[0] && (strcmp(only[2], of) || atol(only[3]) != at)) return;
    int bad = test__bad;
    begin_run();
    plan.call = call;
    plan.error = e;
    snprintf(test__name, sizeof test__name, "only %s %s %s %ld on %s", parts[part].name, calls[call].name, of, at, kind);
    alarm(test_patience(20));
    __atomic_store_n(&plan.at, at, __ATOMIC_SEQ_CST);
    crt_poll r = run_part(c, part);
    bool fired = __atomic_load_n(&plan.fired, __ATOMIC_SEQ_CST);
    if (r != 0) CHECK(fired && is_answer(call, e, r));
    if (must_survive(call, e)) CHECK_EQ(r, 0);
    // Who is told that it has no child, or may not kill it, leaves it.
    nothing_is_left(call == C_waitid || call == C_waitpid || call == C_kill);
    if (fired) {
        table[call].runs++;
        if (r) table[call].answered++;
        else table[call].survived++;
    }
    if (test__bad != bad) fprintf(stderr, "  %s said %lld (%s)\n", test__name, (long long)r, crt_strerror((int)r));
}
// What does something else at each place: this many of them, the later ones by some of the errors.
static bool t_is_various(int call)
{
    return call == C_setsockopt || call == C_getsockopt || call == C_listen || call == C_connect || call == C_fstat ||
           call == C_close || call == C_read || call == C_unlink || call == C_unlinkat || call == C_sigaction ||
           call == C_pthread_create || call == C_socket || call == C_epoll_ctl || call == C_write || call == C_fdopendir;
}
// Of what may be answered, each `some`-th error at each place: the rest is the same code.
static void all_cases(int kind, long depth, int some)
{
    int turn = 0;
    crt_config c = {.flavor = kinds[kind].flavor, .worker_threads = kinds[kind].workers, .log = {.func = silent},
                    .thread_stack_size = 65536 * 4};
    old_kernel = kinds[kind].old;
    for (int part = 0; part < PARTS; part++) {
        long made[CALL_COUNT];
        if (only[0] && strcmp(only[0], parts[part].name)) continue;
        begin_run();
        __atomic_store_n(&plan.at, 0, __ATOMIC_SEQ_CST);
        snprintf(test__name, sizeof test__name, "%s on %s", parts[part].name, kinds[kind].name);
        alarm(test_patience(20));
        CHECK_EQ(run_part(&c, part), 0);
        nothing_is_left(false);
        // Half of them were the second run's.
        for (int call = 0; call < CALL_COUNT; call++) made[call] = (__atomic_load_n(&plan.count[call], __ATOMIC_SEQ_CST) + 1) / 2;
        for (int call = 0; call < CALL_COUNT; call++) {
            if (only[0] && strcmp(only[1], calls[call].name)) continue;
            // fcntl too does something else at each place, and has few errors.
            long deep = call == C_fcntl || t_is_various(call) ? crt__max(depth, 9) : depth;
            long most = crt__min(made[call], deep);
            if (only[0]) most = made[call];
            table[call].places += made[call] > 0;
            for (long at = 1; at <= most && test__bad < 20; at++) {
                for (const int *e = calls[call].must; *e; e++) one_case(&c, kinds[kind].name, part, call, *e, at);
                for (const int *e = calls[call].may; *e; e++)
                    if (turn++ % (at > depth && t_is_various(call) ? 4 : some) == 0 || only[0]) one_case(&c, kinds[kind].name, part, call, *e, at);
            }
        }
    }
}
static void every_call_fails_in_turn(void)
{
    const char *text = getenv("SYSCALL_DEPTH");
    for (int kind = 0; kind < KINDS; kind++)
        if (!only[4] || !strcmp(only[4], kinds[kind].name)) all_cases(kind, text ? atol(text) : 1, text ? 1 : kinds[kind].some);
}

// ---- storms --------------------------------------------------------------------------

static uint32_t only_seed;
static void storm(int kind, uint32_t seed)
{
    crt_config c = {.flavor = kinds[kind].flavor, .worker_threads = kinds[kind].workers, .log = {.func = silent}};
    old_kernel = kinds[kind].old;
    for (int part = 0; part < PARTS; part++) {
        int bad = test__bad;
        begin_run();
        plan.at = 0;
        plan.seed = seed;
        plan.number = 0;
        snprintf(test__name, sizeof test__name, "storm %u, %s on %s", seed, parts[part].name, kinds[kind].name);
        alarm(test_patience(20));
        __atomic_store_n(&plan.storm, 300, __ATOMIC_SEQ_CST);
        CHECK_EQ(run_part(&c, part), 0);
        nothing_is_left(false);
        if (test__bad != bad) fprintf(stderr, "  %s\n", test__name);
    }
}
static void interrupted_and_a_byte_at_a_time(void)
{
    for (uint32_t seed = 1; seed <= 2 && test__bad < 20; seed++)
        for (int kind = 0; kind < KINDS; kind++) storm(kind, only_seed ? only_seed : seed);
    CHECK(plan.interrupted > 1000 && plan.shortened > 1000);
}

int main(int argc, char **argv)
{
    bool alone = argc == 8 && !strcmp(argv[1], "only") && !strcmp(argv[6], "on");
    (void)test__on_each;
    shared_plan = mmap(NULL, sizeof plan, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared_plan == MAP_FAILED) return perror("mmap"), 1;
    test_init(alone ? 1 : argc, argv);
    for (int i = 0; alone && i < 5; i++) only[i] = argv[i < 4 ? i + 2 : 7];
    if (argc == 3 && !strcmp(argv[1], "interrupted")) only_seed = (uint32_t)atoi(argv[2]);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), out = fcntl(1, F_DUPFD_CLOEXEC, 3);
    has_multicast = knows_multicast();
    if (!mkdtemp(place) || null < 0 || out < 0) return perror(place), 1;
    if (dup2(null, 0) < 0 || dup2(null, 1) < 0) return 1;
    TEST(every_call_fails_in_turn);
    if (!alone) TEST(interrupted_and_a_byte_at_a_time);
    clear_out(place);
    rmdir(place);
    fflush(stdout);
    dup2(out, 1);
    if (getenv("DETAILS")) {
        long runs = 0;
        printf("%-26s %6s %6s %9s %9s\n", "call", "places", "runs", "survived", "answered");
        for (int i = 0; i < CALL_COUNT; i++) {
            printf("%-26s %6ld %6ld %9ld %9ld\n", calls[i].name, table[i].places, table[i].runs, table[i].survived,
                   table[i].answered);
            runs += table[i].runs;
        }
        printf("%ld cases; storms: %ld calls interrupted, %ld moved one byte\n", runs, plan.interrupted, plan.shortened);
    }
    return test_end();
}
#else
#include <stdio.h>
int main(void)
{
    fputs("skipped: the calls of Linux\n", stderr);
    puts("0 passed, 0 failed");
    return 0;
}
#endif
