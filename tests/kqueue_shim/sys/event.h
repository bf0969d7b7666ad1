// sys/event.h - kqueue on Linux, as far as crt_platform_kqueue.h uses it, for tests
//
//   cc -DCRT_PLATFORM_KQUEUE -Itests/kqueue_shim ... tests/kqueue_shim/kqueue.c -Wl,--wrap=close,--wrap=waitid
//
// No value is that of a real system: whoever relies on one fails here. With
// KQUEUE_SHIM_PLAIN it is a system that lacks what some lack: EVFILT_USER (OpenBSD),
// EVFILT_EXCEPT and MCAST_JOIN_GROUP (NetBSD), SOCK_CLOEXEC and what came with it (macOS).
#ifndef KQUEUE_SHIM_SYS_EVENT_H
#define KQUEUE_SHIM_SYS_EVENT_H

#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct kevent {
    uintptr_t ident;
    int16_t filter;
    uint16_t flags;
    uint32_t fflags;
    int64_t data;
    void *udata;
};

#define EVFILT_READ (-21)
#define EVFILT_WRITE (-22)
#define EVFILT_PROC (-23)
#define EVFILT_TIMER (-24)
#define NOTE_EXIT 0x0400u

#define EV_ADD 0x0100
#define EV_DELETE 0x0200
#define EV_ONESHOT 0x0400
#define EV_CLEAR 0x0800
#define EV_RECEIPT 0x1000
#define EV_EOF 0x2000
#define EV_ERROR 0x4000

#ifndef KQUEUE_SHIM_PLAIN
#define EVFILT_USER (-25)
#define EVFILT_EXCEPT (-26)
#define NOTE_TRIGGER 0x0800u
#define NOTE_OOB 0x1000u
#else
#undef SOCK_CLOEXEC
#undef CLOSE_RANGE_CLOEXEC
#undef MCAST_JOIN_GROUP
#endif

int kqueue(void);
int kevent(int kq, const struct kevent *changes, int change_count, struct kevent *events, int event_count,
           const struct timespec *timeout);

// Descriptors that stand for processes and timers, which a kqueue has without any.
int kqueue_shim_descriptors(void);

// What else the BSDs have. Linux keeps ids for each thread and the C library sets them for
// all: in a child of vfork those are its parent's, so here it is the system call.
int kqueue_shim_peer_id(int fd, uid_t *uid, gid_t *gid);
#define getpeereid(fd, uid, gid) kqueue_shim_peer_id(fd, uid, gid)
#define SOL_LOCAL SOL_SOCKET
#define LOCAL_PEERPID SO_PEERCRED   // whose first member is the pid
#define setuid(uid) ((int)syscall(SYS_setuid, (uid)))
#define setgid(gid) ((int)syscall(SYS_setgid, (gid)))
#define setgroups(n, list) ((int)syscall(SYS_setgroups, (size_t)(n), (list)))

#endif
