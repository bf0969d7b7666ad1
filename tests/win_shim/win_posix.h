// win_posix.h - the functions that the tests take from POSIX, on Windows
//
// Included by harness.h, after crt.h: crt itself is compiled without them. A descriptor
// is a socket, or one of the C library's (small numbers: told apart by asking Winsock).
#ifndef CRT_TEST_WIN_POSIX_H
#define CRT_TEST_WIN_POSIX_H

#include <dirent.h>
#include <direct.h>
#include <io.h>
#include <stdarg.h>
#include <sys/stat.h>

CRT__UNUSED static int rand_r(unsigned *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return (int)(*seed >> 16 & 0x7fff);
}
CRT__UNUSED static int test__win_mkdir(const char *path) { return _mkdir(path); }
#define mkdir(path, mode) test__win_mkdir(path)

// How many files, pipes and sockets are open: other handles (of threads, events, devices) are
// the system's and its libraries'. Handles are multiples of four, and low ones are given first.
CRT__UNUSED static int test__win_count(bool inherited)
{
    int n = 0;
    for (intptr_t h = 4, last = 4; h <= last + 2048; h += 4) {
        DWORD flags = 0, type = GetHandleInformation((HANDLE)h, &flags) ? GetFileType((HANDLE)h) : FILE_TYPE_UNKNOWN;
        n += (type == FILE_TYPE_PIPE || type == FILE_TYPE_DISK) && (!inherited || (flags & HANDLE_FLAG_INHERIT));
        if (type != FILE_TYPE_UNKNOWN) last = h;
    }
    return n;
}
CRT__UNUSED static int test_fd_count(void) { return test__win_count(false); }
CRT__UNUSED static int test_inherited_count(void) { return test__win_count(true); }   // those that a child would get

#ifndef CRT_NO_NET
#include "posix.h"

CRT__UNUSED static int test__win_blocking(int fd, bool blocks)
{
    u_long on = !blocks;
    return crt__sock_result(ioctlsocket((SOCKET)fd, (long)FIONBIO, &on));
}
CRT__UNUSED static bool test__win_is_socket(int fd)
{
    int type, n = sizeof type;
    return fd >= 0 && !getsockopt((SOCKET)fd, SOL_SOCKET, SO_TYPE, (char *)&type, &n);
}
// What a descriptor may be waited for is a socket: two stand in for a pipe too.
CRT__UNUSED static int pipe(int fd[2])
{
    int e = crt__net_begin();
    if (!e) e = crt__socket_pair(SOCK_STREAM, fd);
    if (e) return errno = -e, -1;
    return test__win_blocking(fd[0], true) || test__win_blocking(fd[1], true) ? -1 : 0;
}
CRT__UNUSED static int test_pipe(int fd[2]) { return pipe(fd); }
CRT__UNUSED static int socketpair(int family, int type, int protocol, int fd[2])
{
    (void)family, (void)type, (void)protocol;
    return pipe(fd);
}
CRT__UNUSED static int test__win_socket(int family, int type)
{
    int fd = crt__net_begin();
    if (!fd) fd = crt__socket(family, type);
    if (fd < 0) return errno = -fd, -1;
    return test__win_blocking(fd, true) ? -1 : fd;
}
CRT__UNUSED static int test_socket(int family, int type)
{
    int fd = test__win_socket(family, type);
    return fd < 0 || test__win_blocking(fd, false) ? -1 : fd;
}
CRT__UNUSED static int test__win_accept(int fd, struct sockaddr *a, socklen_t *n)
{
    int got = crt__accept(fd, a, n);
    if (got < 0) return errno = -got, -1;
    return test__win_blocking(got, true) ? -1 : got;
}
CRT__UNUSED static bool test__win_nothing_yet(int fd, int flags)
{
    WSAPOLLFD p = {(SOCKET)fd, POLLRDNORM, 0};
    if (!(flags & MSG_DONTWAIT) || WSAPoll(&p, 1, 0) > 0) return false;
    return errno = EAGAIN, true;
}
CRT__UNUSED static intptr_t test__win_recv(int fd, void *buf, size_t n, int flags)
{
    if (test__win_nothing_yet(fd, flags)) return -1;
    return crt__sock_result(recv((SOCKET)fd, buf, (int)n, flags & ~MSG_DONTWAIT));
}
CRT__UNUSED static intptr_t test__win_send(int fd, const void *buf, size_t n, int flags)
{
    return crt__sock_result(send((SOCKET)fd, buf, (int)n, flags & ~MSG_DONTWAIT));
}
CRT__UNUSED static intptr_t test__win_read(int fd, void *buf, size_t n)
{
    return test__win_is_socket(fd) ? test__win_recv(fd, buf, n, 0) : _read(fd, buf, (unsigned)n);
}
CRT__UNUSED static intptr_t test__win_write(int fd, const void *buf, size_t n)
{
    return test__win_is_socket(fd) ? test__win_send(fd, buf, n, 0) : _write(fd, buf, (unsigned)n);
}
CRT__UNUSED static int test__win_close(int fd)
{
    return test__win_is_socket(fd) ? crt__sock_result(closesocket((SOCKET)fd)) : _close(fd);
}
CRT__UNUSED static int fcntl(int fd, int what, ...)
{
    DWORD flags = 0;
    int got;
    va_list rest;
    va_start(rest, what);
    int arg = what == F_SETFL ? va_arg(rest, int) : 0;
    va_end(rest);
    switch (what) {   // nobody can ask whether a socket blocks
    case F_GETFD:
        return GetHandleInformation((HANDLE)(intptr_t)fd, &flags) ? !(flags & HANDLE_FLAG_INHERIT) : crt__win_failed();
    case F_SETFD: return 0;
    case F_SETFL: return test__win_blocking(fd, !(arg & O_NONBLOCK));
    default:
        got = crt__dup(fd);
        return got < 0 ? (errno = -got, -1) : got;
    }
}
CRT__UNUSED static int poll(WSAPOLLFD *p, unsigned long n, int ms)
{
    return crt__sock_result(WSAPoll(p, n, ms));
}
#define socket(family, type, protocol) test__win_socket((family), (type))
#define accept(fd, a, n) test__win_accept((fd), (a), (n))
#define connect(fd, a, n) crt__os_connect((int)(fd), (a), (n))
#define bind(fd, a, n) crt__os_bind((int)(fd), (a), (n))
#define listen(fd, n) crt__os_listen((int)(fd), (n))
#define shutdown(fd, how) crt__os_shutdown((int)(fd), (how))
#define getsockname(fd, a, n) crt__os_getsockname((int)(fd), (a), (n))
#define getpeername(fd, a, n) crt__os_getpeername((int)(fd), (a), (n))
#define setsockopt(fd, level, name, value, n) crt__os_setsockopt((int)(fd), (level), (name), (value), (n))
#define getsockopt(fd, level, name, value, n) crt__os_getsockopt((int)(fd), (level), (name), (value), (n))
#define sendto(fd, buf, n, flags, a, an) crt__os_sendto((int)(fd), (buf), (n), (flags), (a), (an))
#define recvfrom(fd, buf, n, flags, a, an) crt__os_recvfrom((int)(fd), (buf), (n), (flags), (a), (an))
#define recv(fd, buf, n, flags) test__win_recv((int)(fd), (buf), (n), (flags))
#define send(fd, buf, n, flags) test__win_send((int)(fd), (buf), (n), (flags))
#define read(fd, buf, n) test__win_read((fd), (buf), (n))
#define write(fd, buf, n) test__win_write((fd), (buf), (n))
#define close(fd) test__win_close((int)(fd))
#endif
#endif
