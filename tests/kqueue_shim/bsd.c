// bsd.c - what bsd.h beside it declares, made of what Linux has
#include "bsd.h"
#include "sys/event.h"
#undef getsockopt
#undef pthread_setname_np
#undef pthread_getaffinity_np

#ifdef KQUEUE_SHIM_FREEBSD
#define WHICH_CRED LOCAL_PEERCRED
#elif defined(KQUEUE_SHIM_OPENBSD)
#define WHICH_CRED SO_PEERCRED
#else
#define WHICH_CRED LOCAL_PEEREID
#endif
enum { LINUX_WAIT = 128, LINUX_WAKE = 129, LINUX_PEERCRED = 17 };

int kqueue_shim_set_name(pthread_t thread, const char *name)
{
    char shortened[16];
    snprintf(shortened, sizeof shortened, "%s", name);
    return pthread_setname_np(thread, shortened);
}
int kqueue_shim_futex(volatile uint32_t *word, bool wake, uint32_t value, const struct timespec *timeout)
{
    return (int)syscall(SYS_futex, word, wake ? LINUX_WAKE : LINUX_WAIT, value, timeout, NULL, 0);
}
int kqueue_shim_getsockopt(int fd, int level, int name, void *value, socklen_t *n)
{
    struct ucred c;
    socklen_t size = sizeof c;
    if (name != WHICH_CRED) return getsockopt(fd, level, name, value, n);
    if (kqueue_shim_no_cred(fd)) return errno = EINVAL, -1;
    if (getsockopt(fd, SOL_SOCKET, LINUX_PEERCRED, &c, &size)) return -1;
#ifdef KQUEUE_SHIM_FREEBSD
    *(struct xucred *)value = (struct xucred){.cr_uid = c.uid, .cr_ngroups = 1, .cr_groups = {c.gid}, .cr_pid = c.pid};
#elif defined(KQUEUE_SHIM_OPENBSD)
    *(struct sockpeercred *)value = (struct sockpeercred){.uid = c.uid, .gid = c.gid, .pid = c.pid};
#else
    *(struct unpcbid *)value = (struct unpcbid){.unp_pid = c.pid, .unp_euid = c.uid, .unp_egid = c.gid};
#endif
    return 0;
}

#ifdef KQUEUE_SHIM_FREEBSD
int _umtx_op(void *word, int op, unsigned long value, void *size, void *time)
{
    const struct _umtx_time *t = time;
    if (op == UMTX_OP_WAKE_PRIVATE) return kqueue_shim_futex(word, true, (uint32_t)value, NULL) < 0 ? -1 : 0;
    if (op != UMTX_OP_WAIT_UINT_PRIVATE || (t && ((size_t)size != sizeof *t || t->_flags || t->_clockid != CLOCK_MONOTONIC)))
        return errno = EINVAL, -1;
    int r = kqueue_shim_futex(word, false, (uint32_t)value, t ? &t->_timeout : NULL);
    return r < 0 && errno == EAGAIN ? 0 : r;   // another value is no error there
}
int cpuset_getaffinity(int level, int which, id_t id, size_t size, cpuset_t *set)
{
    if (level != CPU_LEVEL_WHICH || which != CPU_WHICH_PID || id != (id_t)-1) return errno = EINVAL, -1;
    return sched_getaffinity(0, size, set);
}
int pthread_getthreadid_np(void) { return (int)syscall(SYS_gettid); }
void pthread_set_name_np(pthread_t thread, const char *name) { (void)kqueue_shim_set_name(thread, name); }
#elif defined(KQUEUE_SHIM_OPENBSD)
int futex(volatile uint32_t *word, int op, int value, const struct timespec *timeout, volatile uint32_t *other)
{
    (void)other;
    bool wake = (op & ~FUTEX_PRIVATE_FLAG) == FUTEX_WAKE;
    int r = kqueue_shim_futex(word, wake, (uint32_t)value, timeout);
    // Releases differ: the error as the result, or -1 and errno. This one does both in turn.
    static unsigned turn;
    return r < 0 && !wake && __atomic_fetch_add(&turn, 1, __ATOMIC_RELAXED) % 2 ? errno : r;
}
pid_t getthrid(void) { return (pid_t)syscall(SYS_gettid); }
void pthread_set_name_np(pthread_t thread, const char *name) { (void)kqueue_shim_set_name(thread, name); }
#else
struct _cpuset {
    cpu_set_t set;
};
cpuset_t *cpuset_create(void) { return calloc(1, sizeof(cpuset_t)); }
void cpuset_destroy(cpuset_t *set) { free(set); }
size_t cpuset_size(const cpuset_t *set) { return sizeof *set; }
int cpuset_isset(cpuid_t cpu, const cpuset_t *set) { return cpu >= CPU_SETSIZE ? -1 : CPU_ISSET(cpu, &set->set) != 0; }
int kqueue_shim_getaffinity(pthread_t thread, size_t size, cpuset_t *set)
{
    return pthread_getaffinity_np(thread, size, &set->set);
}
int _lwp_self(void) { return (int)syscall(SYS_gettid); }
#endif
