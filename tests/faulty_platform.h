// faulty_platform.h - the platform of this system with counters, and faults by seed
//
//   #define CRT_PLATFORM_HEADER "faulty_platform.h"
//   #define CRT_IMPLEMENTATION
//   #include "crt.h"
//
// Every system call that crt makes through the platform contract is counted in
// fault.calls. With fault.per_mille above 0 some of them fail as the system may make
// them fail: interrupted, not ready, one byte only, reset, out of descriptors. The
// lies are consistent: after an EAGAIN or a short transfer an edge-triggered kernel
// reports the next edge, so the wrapper arms the descriptor again, and an edge follows
// if there is something to do. Reported events may be doubled, be spurious, or be late
// ones of a descriptor that has gone.

#if defined(__linux__) && !defined(CRT_PLATFORM_KQUEUE)
#define FAULT_EPOLL
#include <sys/epoll.h>
#endif

#define crt__sock_recv fault__true_recv
#define crt__sock_send fault__true_send
#define crt__sock_peek fault__true_peek
#define crt__sock_sendv fault__true_sendv
#define crt__fd_readv fault__true_readv
#define crt__fd_writev fault__true_writev
#define crt__accept fault__true_accept
#define crt__socket fault__true_socket
#define crt__reactor_add fault__true_add
#define crt__reactor_wait fault__true_wait
#define crt__io_event fault__event
static void fault__event(crt_runtime *rt, uint64_t token, uint32_t ready);
#include CRT__SYSTEM_HEADER
#undef crt__sock_recv
#undef crt__sock_send
#undef crt__sock_peek
#undef crt__sock_sendv
#undef crt__fd_readv
#undef crt__fd_writev
#undef crt__accept
#undef crt__socket
#undef crt__reactor_add
#undef crt__reactor_wait
#undef crt__io_event

enum { FAULT_RECV, FAULT_SEND, FAULT_ACCEPT, FAULT_SOCKET, FAULT_ADD, FAULT_WAIT, FAULT_EVENT, FAULT_KINDS };
static struct {
    uint32_t per_mille;   // how many calls of a thousand go wrong; 0: none
    bool fatal;           // also those that end a connection or refuse one
    uint32_t seed;
    uint32_t calls[FAULT_KINDS], injected[FAULT_KINDS];   // atomic
    uint32_t number;                                      // atomic
    int always[FAULT_KINDS];                              // atomic; an errno: every call fails with it
    void (*meanwhile)(void);   // called once, inside the next call that fails so; set while nobody else runs
} fault;
enum { FAULT_WATCHED = 4096, FAULT_LATE = 32 };
static struct { uint64_t token; crt__reactor *reactor; } fault__watched[FAULT_WATCHED];   // atomic, by descriptor
static uint64_t fault__late[FAULT_LATE];   // atomic; tokens that this runtime has seen, 0: none

// While no runtime lives.
static CRT__UNUSED void fault_begin(uint32_t per_mille, bool fatal, uint32_t seed)
{
    memset(&fault, 0, sizeof fault);
    memset(fault__late, 0, sizeof fault__late);
    fault.per_mille = per_mille;
    fault.fatal = fatal;
    fault.seed = seed;
}
// Counts from 0 again; also while runtimes live.
static CRT__UNUSED void fault_count(void)
{
    for (int i = 0; i < FAULT_KINDS; i++) __atomic_store_n(&fault.calls[i], 0, __ATOMIC_RELAXED);
}
static CRT__UNUSED uint32_t fault_calls(int kind) { return __atomic_load_n(&fault.calls[kind], __ATOMIC_RELAXED); }

// 0: let the call pass. Otherwise a random number that chooses the fault.
static uint32_t fault__roll(int kind)
{
    __atomic_fetch_add(&fault.calls[kind], 1, __ATOMIC_RELAXED);
    if (!fault.per_mille) return 0;
    uint64_t x = (uint64_t)fault.seed << 32 | __atomic_fetch_add(&fault.number, 1, __ATOMIC_RELAXED);
    x = (x ^ x >> 31) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 29) * 0x94d049bb133111ebu;
    x ^= x >> 32;
    if (x % 1000 >= fault.per_mille) return 0;
    __atomic_fetch_add(&fault.injected[kind], 1, __ATOMIC_RELAXED);
    return (uint32_t)(x >> 12) | 1u << 31;
}
static int fault__always(int kind)
{
    int e = __atomic_load_n(&fault.always[kind], __ATOMIC_RELAXED);
    if (e) __atomic_fetch_add(&fault.calls[kind], 1, __ATOMIC_RELAXED);
    void (*meanwhile)(void) = e ? fault.meanwhile : NULL;
    if (meanwhile) {
        fault.meanwhile = NULL;
        meanwhile();
    }
    return e;
}
static CRT__UNUSED void fault_always(int kind, int e) { __atomic_store_n(&fault.always[kind], e, __ATOMIC_RELAXED); }

// The next edge, if there is something to do.
static void fault__rearm(crt__fd fd)
{
#ifdef _WIN32   // it is asked again by whoever waits again
    (void)fd;
#else
    if (fd >= FAULT_WATCHED) return;
    int e = errno;
    crt__reactor *r = __atomic_load_n(&fault__watched[fd].reactor, __ATOMIC_ACQUIRE);
    uint64_t token = __atomic_load_n(&fault__watched[fd].token, __ATOMIC_ACQUIRE);
#ifdef FAULT_EPOLL
    struct epoll_event event = {EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET, {.u64 = token}};
    (void)epoll_ctl((int)crt__reactor_fd(r), EPOLL_CTL_MOD, (int)fd, &event);
#else   // kqueue looks again at what is added again
    (void)fault__true_add(r, fd, token);
#endif
    errno = e;
#endif
}
static intptr_t fault__fail(int e)
{
    errno = e;
    return -1;
}
static intptr_t crt__sock_recv(crt__fd fd, void *buf, size_t n)
{
    uint32_t roll = fault__roll(FAULT_RECV);
    if (!roll) return fault__true_recv(fd, buf, n);
    intptr_t k;
    switch (roll / 7 % (fault.fatal ? 4 : 3)) {
    case 0: return fault__fail(EINTR);
    case 1: fault__rearm(fd); return fault__fail(EAGAIN);
    case 2:
        k = fault__true_recv(fd, buf, n > 1 ? 1 : n);
        fault__rearm(fd);
        return k;
    default: return fault__fail(ECONNRESET);
    }
}
static intptr_t crt__sock_send(crt__fd fd, const void *buf, size_t n)
{
    uint32_t roll = fault__roll(FAULT_SEND);
    if (!roll) return fault__true_send(fd, buf, n);
    intptr_t k;
    switch (roll / 7 % (fault.fatal ? 5 : 3)) {
    case 0: return fault__fail(EINTR);
    case 1: fault__rearm(fd); return fault__fail(EAGAIN);
    case 2:
        k = fault__true_send(fd, buf, n > 1 ? 1 : n);
        fault__rearm(fd);
        return k;
    case 3: return fault__fail(ENOBUFS);
    default: return fault__fail(EPIPE);
    }
}
static intptr_t crt__sock_peek(crt__fd fd, void *buf, size_t n)
{
    uint32_t roll = fault__roll(FAULT_RECV);
    if (!roll) return fault__true_peek(fd, buf, n);
    switch (roll / 7 % (fault.fatal ? 4 : 3)) {
    case 0: return fault__fail(EINTR);
    case 1: fault__rearm(fd); return fault__fail(EAGAIN);
    case 2: return fault__true_peek(fd, buf, n > 1 ? 1 : n);
    default: return fault__fail(ECONNRESET);
    }
}
// Several pieces, one way or the other: `real` does it, a fault may shorten it to a byte.
static intptr_t fault__pieces(int kind, intptr_t (*real)(crt__fd, const crt__iovec *, int), crt__fd fd,
                              const crt__iovec *pieces, int count)
{
    uint32_t roll = fault__roll(kind);
    if (!roll) return real(fd, pieces, count);
    int first = 0;
    switch (roll / 7 % (fault.fatal ? 5 : 3)) {
    case 0: return fault__fail(EINTR);
    case 1: fault__rearm(fd); return fault__fail(EAGAIN);
    case 2: {
        while (first < count && !pieces[first].iov_len) first++;
        crt__iovec byte = {first < count ? pieces[first].iov_base : NULL, first < count};
        intptr_t k = real(fd, &byte, 1);
        fault__rearm(fd);
        return k;
    }
    case 3: return fault__fail(kind == FAULT_SEND ? ENOBUFS : ECONNRESET);
    default: return fault__fail(kind == FAULT_SEND ? EPIPE : EIO);
    }
}
static intptr_t crt__sock_sendv(crt__fd fd, const crt__iovec *pieces, int count)
{
    return fault__pieces(FAULT_SEND, fault__true_sendv, fd, pieces, count);
}
static intptr_t crt__fd_readv(crt__fd fd, const crt__iovec *pieces, int count)
{
    return fault__pieces(FAULT_RECV, fault__true_readv, fd, pieces, count);
}
static intptr_t crt__fd_writev(crt__fd fd, const crt__iovec *pieces, int count)
{
    return fault__pieces(FAULT_SEND, fault__true_writev, fd, pieces, count);
}
static int crt__accept(crt__fd fd, struct sockaddr *sa, socklen_t *n)
{
    int always = fault__always(FAULT_ACCEPT);
    if (always) return -always;
    uint32_t roll = fault__roll(FAULT_ACCEPT);
    if (!roll) return fault__true_accept(fd, sa, n);
    // The pauses after EMFILE and ENOBUFS take real time: seldom.
    switch (roll / 7 % 12) {
    case 0: return -EMFILE;
    case 1: return -ENOBUFS;
    case 2: case 3: case 4: return -ECONNABORTED;
    case 5: case 6: case 7: fault__rearm(fd); return -EAGAIN;
    default: return -EINTR;
    }
}
static int crt__socket(int family, int type)
{
    int always = fault__always(FAULT_SOCKET);
    if (always) return -always;
    uint32_t roll = fault__roll(FAULT_SOCKET);
    if (roll && fault.fatal) return roll & 8 ? -EMFILE : -ENOBUFS;
    return fault__true_socket(family, type);
}
static int crt__reactor_add(crt__reactor *r, crt__fd fd, uint64_t token)
{
    int always = fault__always(FAULT_ADD);
    if (always) return -always;
    uint32_t roll = fault__roll(FAULT_ADD);
    if (roll && fault.fatal) return roll & 8 ? -ENOMEM : -ENOSPC;
    if (fd < FAULT_WATCHED) {
        __atomic_store_n(&fault__watched[fd].token, token, __ATOMIC_RELEASE);
        __atomic_store_n(&fault__watched[fd].reactor, r, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&fault__late[token % FAULT_LATE], token, __ATOMIC_RELEASE);
    return fault__true_add(r, fd, token);
}
static int crt__reactor_wait(crt__reactor *r, crt_runtime *rt, int64_t timeout_ns)
{
    if (fault__roll(FAULT_WAIT)) return 0;   // interrupted
    return fault__true_wait(r, rt, timeout_ns);
}
static void fault__event(crt_runtime *rt, uint64_t token, uint32_t ready)
{
    uint32_t roll = fault__roll(FAULT_EVENT);
    crt__io_event(rt, token, ready);
    if (!roll) return;
    // Once more, and more than is true.
    if (roll & 8) crt__io_event(rt, token, ready | CRT__READABLE | CRT__WRITABLE);
    // One of a descriptor that may be gone; the contract allows it.
    uint64_t late = __atomic_load_n(&fault__late[roll / 16 % FAULT_LATE], __ATOMIC_ACQUIRE);
    if (late) crt__io_event(rt, late, CRT__READABLE | CRT__WRITABLE);
}
