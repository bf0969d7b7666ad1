// no_pidfd_platform.h - the platform header of this system, with a pidfd that can be
// switched off, as on a kernel that has none: children are then waited for by SIGCHLD.
// Or made to fail with another error.
// CRT_PLATFORM_HEADER "no_pidfd_platform.h"
#ifndef CRT_TEST_NO_PIDFD_H
#define CRT_TEST_NO_PIDFD_H

static int no_pidfd, no_pidfd_error, no_pidfd_asked;   // atomic
static void (*no_pidfd_meanwhile)(int pid);   // before one is asked for; set while nobody asks

#define crt__pidfd_open true_pidfd_open
#include CRT__SYSTEM_HEADER
#undef crt__pidfd_open
static crt__fd crt__pidfd_open(int pid)
{
    __atomic_fetch_add(&no_pidfd_asked, 1, __ATOMIC_RELAXED);
    int e = __atomic_load_n(&no_pidfd_error, __ATOMIC_RELAXED);
    if (no_pidfd_meanwhile) no_pidfd_meanwhile(pid);
    if (e) return -e;
    return __atomic_load_n(&no_pidfd, __ATOMIC_RELAXED) ? -ENOSYS : true_pidfd_open(pid);
}
#endif
