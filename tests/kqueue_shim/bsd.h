// bsd.h - Linux taken for FreeBSD, OpenBSD or NetBSD, as far as crt asks which it is
//
//   cc -DKQUEUE_SHIM_FREEBSD -include tests/kqueue_shim/bsd.h ...      or _OPENBSD, _NETBSD, _NETBSD9
//
// What crt takes from such a system beside kqueue, by its names and types, made of what
// Linux has: its futex, thread names, CPU masks and credentials. So the code behind
// #ifdef __FreeBSD__ and so on is compiled and run, though never on the system itself.
// All of Linux's headers come first, which are left as they are.
#ifndef KQUEUE_SHIM_BSD_H
#define KQUEUE_SHIM_BSD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <math.h>
#include <netdb.h>
#include <net/if.h>
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
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#undef __linux__
#undef __linux
#undef linux
#undef __gnu_linux__

// Waits as Linux's futex: 0, or -1 and errno.
int kqueue_shim_futex(volatile uint32_t *word, bool wake, uint32_t value, const struct timespec *timeout);
int kqueue_shim_set_name(pthread_t thread, const char *name);
int kqueue_shim_getsockopt(int fd, int level, int name, void *value, socklen_t *n);

#if defined(KQUEUE_SHIM_FREEBSD)
#define __FreeBSD__ 14
#define __FreeBSD_version 1400097
#undef SO_PEERCRED
#define LOCAL_PEERCRED 0x7001
typedef cpu_set_t cpuset_t;
struct _umtx_time {
    struct timespec _timeout;
    uint32_t _flags, _clockid;
};
struct xucred {
    unsigned cr_version;
    uid_t cr_uid;
    short cr_ngroups;
    gid_t cr_groups[16];
    pid_t cr_pid;
};
enum { UMTX_OP_WAIT_UINT_PRIVATE = 115, UMTX_OP_WAKE_PRIVATE = 116 };
enum { CPU_LEVEL_WHICH = 103, CPU_WHICH_PID = 102 };
int _umtx_op(void *word, int op, unsigned long value, void *size, void *time);
int cpuset_getaffinity(int level, int which, id_t id, size_t size, cpuset_t *set);
int pthread_getthreadid_np(void);
void pthread_set_name_np(pthread_t thread, const char *name);

#elif defined(KQUEUE_SHIM_OPENBSD)
#define __OpenBSD__ 1
#undef CLOSE_RANGE_CLOEXEC
#undef MCAST_JOIN_GROUP
#undef SO_PEERCRED
#define SO_PEERCRED 0x7002
struct sockpeercred {
    uid_t uid;
    gid_t gid;
    pid_t pid;
};
enum { FUTEX_WAIT = 101, FUTEX_WAKE = 102, FUTEX_PRIVATE_FLAG = 1024 };
int futex(volatile uint32_t *word, int op, int value, const struct timespec *timeout, volatile uint32_t *other);
pid_t getthrid(void);
void pthread_set_name_np(pthread_t thread, const char *name);
#undef TCP_KEEPIDLE
#undef TCP_KEEPINTVL
#undef TCP_KEEPCNT

#elif defined(KQUEUE_SHIM_NETBSD) || defined(KQUEUE_SHIM_NETBSD9)
#define __NetBSD__ 1
#undef CLOSE_RANGE_CLOEXEC
#undef MCAST_JOIN_GROUP
#undef SO_PEERCRED
#define LOCAL_PEEREID 0x7003
struct unpcbid {
    pid_t unp_pid;
    uid_t unp_euid;
    gid_t unp_egid;
};
typedef unsigned long cpuid_t;
typedef struct _cpuset cpuset_t;
cpuset_t *cpuset_create(void);
void cpuset_destroy(cpuset_t *set);
size_t cpuset_size(const cpuset_t *set);
int cpuset_isset(cpuid_t cpu, const cpuset_t *set);
int kqueue_shim_getaffinity(pthread_t thread, size_t size, cpuset_t *set);
int _lwp_self(void);
#define pthread_getaffinity_np(thread, size, set) kqueue_shim_getaffinity((thread), (size), (set))
#define pthread_setname_np(thread, format, name) kqueue_shim_set_name((thread), (const char *)(name))
#else
#error "which one?"
#endif

#define getsockopt(fd, level, name, value, n) kqueue_shim_getsockopt((fd), (level), (name), (value), (n))

#endif
