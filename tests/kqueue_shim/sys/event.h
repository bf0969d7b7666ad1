// sys/event.h - kqueue on Linux, as far as crt_platform_kqueue.h uses it, for tests
//
//   cc -DCRT_PLATFORM_KQUEUE -Itests/kqueue_shim ... tests/kqueue_shim/kqueue.c -Wl,--wrap=close,--wrap=waitid,
//      --wrap=getpeername,--wrap=getsockopt,--wrap=setsockopt,--wrap=fcntl,--wrap=poll,--wrap=writev
//
// No value is that of a real system: whoever relies on one fails here. By default it is a
// system that has everything; with one of these, what is laid out and lacking as on
//   KQUEUE_SHIM_PLAIN     all that lack something: no EVFILT_USER, no EVFILT_EXCEPT, no
//                         MCAST_JOIN_GROUP, no SOCK_CLOEXEC and what came with it
//   KQUEUE_SHIM_MACOS     no SOCK_CLOEXEC; F_SETNOSIGPIPE, SO_LINGER_SEC, proc_pidfdinfo
//   KQUEUE_SHIM_FREEBSD   no EVFILT_EXCEPT; struct kevent is longer
//   KQUEUE_SHIM_OPENBSD   before 7.8: no EVFILT_USER
//   KQUEUE_SHIM_NETBSD    10: filters and flags have 32 bits and no sign, counts are size_t
//   KQUEUE_SHIM_NETBSD9   and udata is a number, and there is no EVFILT_USER
#ifndef KQUEUE_SHIM_SYS_EVENT_H
#define KQUEUE_SHIM_SYS_EVENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#if defined(KQUEUE_SHIM_NETBSD) || defined(KQUEUE_SHIM_NETBSD9)
#define KQUEUE_SHIM_FILTER(n) (n##u)
typedef size_t kqueue_shim_count;
struct kevent {
    uintptr_t ident;
    uint32_t filter, flags, fflags;
    int64_t data;
#ifdef KQUEUE_SHIM_NETBSD9
    intptr_t udata;
#else
    void *udata;
#endif
};
#else
#define KQUEUE_SHIM_FILTER(n) (-n)
typedef int kqueue_shim_count;
struct kevent {
    uintptr_t ident;
    int16_t filter;
    uint16_t flags;
    uint32_t fflags;
    int64_t data;
    void *udata;
#ifdef KQUEUE_SHIM_FREEBSD
    uint64_t ext[4];
#endif
};
#endif
#if !defined(KQUEUE_SHIM_PLAIN) && !defined(KQUEUE_SHIM_OPENBSD) && !defined(KQUEUE_SHIM_NETBSD9)
#define KQUEUE_SHIM_HAS_USER
#endif
#if !defined(KQUEUE_SHIM_PLAIN) && !defined(KQUEUE_SHIM_FREEBSD) && !defined(KQUEUE_SHIM_NETBSD) && \
    !defined(KQUEUE_SHIM_NETBSD9)
#define KQUEUE_SHIM_HAS_EXCEPT
#endif

#define EVFILT_READ KQUEUE_SHIM_FILTER(21)
#define EVFILT_WRITE KQUEUE_SHIM_FILTER(22)
#define EVFILT_PROC KQUEUE_SHIM_FILTER(23)
#define EVFILT_TIMER KQUEUE_SHIM_FILTER(24)
#define NOTE_EXIT 0x0400u

#define EV_ADD 0x0100
#define EV_DELETE 0x0200
#define EV_ONESHOT 0x0400
#define EV_CLEAR 0x0800
#define EV_RECEIPT 0x1000
#define EV_EOF 0x2000
#define EV_ERROR 0x4000

// With KQUEUE_SHIM_ALL, for kqueue.c itself, all filters have names.
#if defined(KQUEUE_SHIM_HAS_USER) || defined(KQUEUE_SHIM_ALL)
#define EVFILT_USER KQUEUE_SHIM_FILTER(25)
#define NOTE_TRIGGER 0x0800u
#endif
#if defined(KQUEUE_SHIM_HAS_EXCEPT) || defined(KQUEUE_SHIM_ALL)
#define EVFILT_EXCEPT KQUEUE_SHIM_FILTER(26)
#define NOTE_OOB 0x1000u
#endif
#if defined(KQUEUE_SHIM_PLAIN) || defined(KQUEUE_SHIM_MACOS)
#undef SOCK_CLOEXEC
#undef CLOSE_RANGE_CLOEXEC
#ifdef KQUEUE_SHIM_PLAIN
#undef MCAST_JOIN_GROUP
#endif
#endif
#ifdef KQUEUE_SHIM_MACOS
#define F_SETNOSIGPIPE 0x7777
#define SO_LINGER_SEC 0x7f01
#define PROC_PIDFDSOCKETINFO 0x7f02
struct socket_fdinfo {
    struct {
        short soi_options;
    } psi;
};
int kqueue_shim_socket_info(int fd, struct socket_fdinfo *info, int room);
#define proc_pidfdinfo(pid, fd, what, info, room) kqueue_shim_socket_info((fd), (info), (room))
#endif

int kqueue(void);
int kevent(int kq, const struct kevent *changes, kqueue_shim_count change_count, struct kevent *events,
           kqueue_shim_count event_count, const struct timespec *timeout);

// Descriptors that stand for processes and timers, which a kqueue has without any.
int kqueue_shim_descriptors(void);

// An end of a pair that has no credentials.
bool kqueue_shim_no_cred(int fd);

// What else the BSDs have. Linux keeps ids for each thread and the C library sets them for
// all: in a child of vfork those are its parent's, so here it is the system call.
int kqueue_shim_peer_id(int fd, uid_t *uid, gid_t *gid);
#define getpeereid(fd, uid, gid) kqueue_shim_peer_id(fd, uid, gid)
#define SOL_LOCAL SOL_SOCKET
#ifndef KQUEUE_SHIM_BSD_H
#define LOCAL_PEERPID SO_PEERCRED   // whose first member is the pid
#endif
#define setuid(uid) ((int)syscall(SYS_setuid, (uid)))
#define setgid(gid) ((int)syscall(SYS_setgid, (gid)))
#define setgroups(n, list) ((int)syscall(SYS_setgroups, (size_t)(n), (list)))

#endif
