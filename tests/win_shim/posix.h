// posix.h - types and numbers that the tests take from POSIX, on Windows
//
// The headers beside this one are all this one: a test includes <sys/socket.h> and what
// else it needs as anywhere. The functions come from harness.h, after crt.h: win_posix.h.
// What Windows does not have at all is missing here, and the test says so by an #ifdef.
#ifndef CRT_TEST_POSIX_H
#define CRT_TEST_POSIX_H

#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0A00
#endif
#include <winsock2.h>
#include <ws2tcpip.h>
#include <afunix.h>
#include <windows.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>

// Flags of calls that there always are as if they were given, or never.
#define TEST_CLOEXEC 0
#define SOCK_CLOEXEC 0
#define SOCK_NONBLOCK 0
#define O_CLOEXEC 0
#define O_NONBLOCK 0x40000000
#define MSG_NOSIGNAL 0
#define MSG_DONTWAIT 0x40000000   // win_posix.h looks first
enum { F_GETFD = 1, F_SETFD, F_SETFL, F_DUPFD_CLOEXEC, FD_CLOEXEC = 1 };
#ifndef SHUT_WR
#define SHUT_RD SD_RECEIVE
#define SHUT_WR SD_SEND
#define SHUT_RDWR SD_BOTH
#endif
#ifndef SIGPIPE
#define SIGPIPE 13   // nobody is sent it
#endif
#ifndef SIGKILL
#define SIGKILL 9
#endif

#endif
