// msvc_view.h - crt.h as MSVC reads it, for gcc of mingw: put in front of a file with -include
//
// The system's headers come first, as that compiler wants them. Then the names by which crt.h tells compilers apart
// are taken away and MSVC's are there: its atomics, bit scans, form of the coroutine macros (a counter), no attributes.
// What its C library does not have is an error. What cannot be seen so: MSVC's parser and warnings, its own headers.
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include "posix.h"
#include <winternl.h>
#include <assert.h>
#include <direct.h>
#include <dirent.h>
#include <intrin.h>
#include <io.h>
#include <limits.h>
#include <process.h>
#include <pthread.h>
#include <pthread_time.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <tlhelp32.h>
#include <unistd.h>
#include <wchar.h>

#undef __GNUC__
#undef __GNUC_MINOR__
#undef __MINGW32__
#undef __MINGW64__
#undef __MINGW_PRINTF_FORMAT
#undef __x86_64__
#undef __SIZEOF_LONG__
#define _MSC_VER 1939
#define _M_X64 100
#ifdef MSVC_ZI   // to be compiled only: __func__ is no constant there, and with /ZI nor is __LINE__
#pragma GCC system_header   // no warning where a name of the compiler's is defined anew
static const char *msvc_function = "a function";
static long msvc_line;
#define __func__ msvc_function
#define __FUNCTION__ "a function"
#undef __LINE__
#define __LINE__ (msvc_line + 3)
#endif
