// crt.h - 0.1.0 - Tokio's runtime for C, in one header
// SPDX-License-Identifier: MIT-0 OR Unlicense (both texts are at the end)
//
// Stackless coroutine tasks with explicit polls and wakers, current-thread and
// work-stealing schedulers, reactors on epoll, kqueue and IOCP, a hierarchical timing wheel,
// a blocking pool, sockets, files, processes, signals. C11, nothing but libc and the OS.
//
// DO THIS
//     Put crt.h and your system's crt_platform_*.h beside your sources. In ONE .c file:
//         #define CRT_IMPLEMENTATION
//         #include "crt.h"
//     before any other include, or compile that file with -D_GNU_SOURCE. Every
//     other file, C11 or C++17, just includes it. Link with -pthread:
//         cc -std=c11 -O2 server.c -o server -pthread
//
// A FIRST PROGRAM: an echo server on all CPUs
//
//     #define CRT_IMPLEMENTATION
//     #include "crt.h"
//
//     typedef struct echo {
//         crt_frame   co;                // first member: the resume point
//         crt_stream *peer;              // what must survive an await lives here
//         char        buf[4096];
//         crt_poll    n;
//     } echo;
//
//     static crt_poll echo_run(void *frame, crt_cx *cx)
//     {
//         echo *self = frame;
//         CRT_BEGIN(self, cx);
//         for (;;) {
//             CRT_AWAIT(self->n = crt_read(cx, self->peer, self->buf, sizeof self->buf));
//             if (self->n <= 0) CRT_RETURN(self->n);
//             CRT_AWAIT(self->n = crt_write_all(cx, self->peer, self->buf, (size_t)self->n));
//             if (self->n < 0) CRT_RETURN(self->n);
//         }
//         CRT_FINALLY                    // however it ends: CRT_RETURN, cancellation, panic
//             crt_close(&self->peer);
//         CRT_END;
//     }
//
//     typedef struct server {
//         crt_frame co;
//         crt_listener *listener;
//         crt_stream *peer;
//         crt_poll r;
//     } server;
//
//     static crt_poll server_run(void *frame, crt_cx *cx)
//     {
//         server *self = frame;
//         CRT_BEGIN(self, cx);
//         CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:7000", NULL, &self->listener));
//         if (self->r < 0) CRT_RETURN(self->r);
//         for (;;) {
//             CRT_AWAIT(self->r = crt_accept(cx, self->listener, &self->peer, NULL));
//             if (self->r < 0) CRT_RETURN(self->r);
//             if (crt_spawn(cx, echo_run, &(echo){ .peer = self->peer }) < 0)
//                 crt_close(&self->peer);
//         }
//         CRT_FINALLY
//             crt_close(&self->listener);
//         CRT_END;
//     }
//
//     CRT_MAIN(server_run, server)
//
// OPTIONS
//     In the file with CRT_IMPLEMENTATION (before the include):
//       CRT_MALLOC(size) CRT_FREE(ptr)  malloc, free. Both or none. A runtime can have
//                               its own: crt_config.allocator.
//       CRT_ASSERT(c)           assert(c). For misuse that has no result to report it.
//       CRT_DEBUG               warn when an operand of CRT_AWAIT moves, or what is sent changes,
//                               between polls, and when a task waits for what nothing can wake.
//                               Defined for a file of coroutines: one that is spawned with a
//                               frame too small for it panics, and one whose frame does not begin
//                               with a crt_frame does not compile (gcc, clang).
//       CRT_ENABLE_TRACE        record of each task where it was spawned, its polls, wakes and times:
//                               crt_dump prints them, crt_metrics_task reads them. An allocation and
//                               16 bytes for each task, two looks at the clock for each wake and each
//                               poll.
//       CRT_NO_FS               leave out files.
//       CRT_NO_PROCESS          leave out child processes.
//       CRT_NO_NET              leave out sockets, streams, and processes: their pipes are streams.
//       CRT_LIBC_SOCKETS        Linux: recv and send by the C library, which a preloaded library
//                               may replace, and not by the kernel directly.
//       CRT_NO_THREADS          leave out threads and what needs them: see BARE METAL.
//       CRT_PLATFORM_HEADER "mine.h"   another reactor in place of crt_platform_*.h.
//       CRT_ATOMICS_HEADER "mine.h"    other atomics; tests explore interleavings so.
//     Before any include of it:
//       CRT_ALLOW_BARE_POLLS    no warning where a wait is called without CRT_AWAIT.
//     In every file alike, or the files do not link:
//       CRT_STATIC              all functions static: one translation unit only.
//                               gcc, with a CRT_NO_*: -Wno-unused-function, as it names those left out.
//       CRT_USE_COUNTER         await states from __COUNTER__ instead of __LINE__ (MSVC: always).
//     No option changes the layout of a public struct.
//
// LINKING
//     -pthread; macOS needs nothing.
//     Linux 2.6.27 or newer; 5.3 to wait for children without SIGCHLD, 5.11 for time-outs
//     finer than 1 ms; glibc or musl. gcc, clang; tcc on x86-64, with -std=c11. Processors of
//     32 bits without atomics of 64 (before ARMv7 or i586, MIPS, POWER): -latomic too; none of
//     fewer bits.
//     macOS 10.12, FreeBSD 10, OpenBSD 7.1, NetBSD 8 or newer.
//     Windows 10 or newer: crt_platform_iocp.h; mingw-w64: -lws2_32 -lsynchronization;
//     Visual Studio 2022 17.9 or newer: /std:c11, its libraries are named in the header.
//
// C++
//     The file with CRT_IMPLEMENTATION is C. A frame that is spawned is copied as bytes: what is
//     not trivially copyable is refused, and no frame has a virtual function. Without the
//     compound literals of C, a frame is a variable: { conn c{}; c.peer = s; crt_spawn(cx, conn_run, &c); }
//     An exception must not leave a coroutine: CRT_FINALLY would not run, and the runtime be lost.
//     A name with a comma in it, run<A, B>, goes in parentheses, or has an alias.
//     With CRT_USE_COUNTER (MSVC has it always) no coroutine is in an inline function, a template or
//     a class body that several files include: each would count its states differently.
//
// WINDOWS, where it differs
//     Paths, arguments and variables are UTF-8. Only sockets are descriptors that can be
//     waited for; crt_pipe and the pipes of children are streams without one. A timer may
//     be late by a tick of the system's clock (15.6 ms). crt_runtime_poll_fd: -ENOTSUP.
//     Signals: SIGINT (Ctrl-C), SIGBREAK, SIGTERM (the end of console, session, system).
//     Children: no uid, gid, session, no group to join, no further descriptors
//     (-ENOTSUP); .bat and .cmd are refused (-ENOEXEC); to kill is to terminate. Unix
//     sockets: streams with a path only; crt_stream_pair is a pair over the loopback.
//     Of a file's mode there is only whether it may be written to.
//
// BARE METAL
//     CRT_NO_THREADS leaves the current-thread flavour, which crt_config.flavor must name,
//     and no blocking pool: what needs a thread gives -ENOTSUP; a call named _blocking_ gives
//     CRT_ENOCONTEXT where it would have to wait. Where there is no operating system either,
//     there are no sockets, files, processes and signals: timers, >>api sync, >>api channels
//     and everything else are there, crt_spawn_in needs no heap, and a handler of an interrupt
//     may call what needs no cx and does not wait (crt_notify_one, crt_mpsc_try_send,
//     crt_wake). It also ends the wait of a _blocking_ call outside handlers, which sleeps.
//     crt asks the heap (CRT_MALLOC, CRT_FREE, crt_config.allocator) with interrupts on or off,
//     and in handlers: crt_handle_spawn and sends without bound allocate; receives without
//     bound free, and so does who drops the last reference (crt_wake, _drop, crt_oneshot_send
//     to a receiver that is gone). Where handlers call those, malloc has to turn interrupts off
//     (newlib: in __malloc_lock). What else they call leaves the heap alone.
//     CRT_PLATFORM_HEADER is yours, looked for beside crt.h and where -I says, with these
//     functions, all static (examples/cortex_m/platform.h has them for a Cortex-M, in 80 lines):
//       uint32_t crt__interrupts_off(void)    gives what they were before: calls nest
//       void crt__interrupts_on(uint32_t were)     as they were. Both hold the compiler back:
//                                             asm volatile with a "memory" clobber
//       bool crt__in_interrupt(void)          does a handler run?
//       int64_t crt__clock(void)              ns, never backwards. Called by handlers with
//                                             schedule_histogram or CRT_ENABLE_TRACE only
//       int crt__futex_wait(uint32_t *word, uint32_t expected, int64_t timeout_ns)
//                                             sleeps while *word == expected, at most so
//                                             long (< 0: no limit), and may return early.
//                                             0; nonzero: time is up. It looks with
//                                             interrupts off, so that none is missed
//       void crt__futex_wake(uint32_t *word, int n)     called in handlers: end that sleep
//       void crt__log_line(const char *level, const char *line)     prints
//     Of the C library it needs memcpy, memset, strlen, snprintf, vsnprintf, strerror; unless
//     you define others malloc, free, assert; for crt_dump, crt_metrics_prometheus and CRT_MAIN
//     fprintf, fwrite, fflush, stderr, which -ffunction-sections and the linker's --gc-sections
//     leave out. Of the stack it takes up to 2 kB, half of that for a line of the log.
//
// CONTENTS (search for the tag)
//     public          >>config  >>errors  >>core types  >>coroutine
//                     >>api runtime  >>api tasks  >>api time  >>api combine  >>api groups
//                     >>api sync  >>api channels  >>api net  >>api streams  >>api fs
//                     >>api process  >>api signal  >>api sight
//     implementation  >>atomics  >>os  >>structs  >>log  >>slab  >>task
//                     >>run queue  >>wheel  >>reactor  >>scheduler  >>blocking
//                     >>spawn  >>calls  >>io  >>net  >>streams  >>fs  >>signal
//                     >>process  >>sync  >>channels  >>combinators  >>groups
//                     >>sight  >>runtime
//     at the end      >>licence  >>changelog
//
// HOW IT WORKS, in seven steps
//   1. A poll is a function call. It returns a result (>= 0), an error (< 0), or
//      CRT_PENDING: "not ready; I have arranged for a wake". Nobody polls again
//      before that wake.
//   2. A coroutine is a poll function over a frame: a struct whose first member
//      remembers the line to go on from. Calling another coroutine is calling its
//      function on a frame that lies inside yours. No allocation, no registration.
//   3. A task is a coroutine that the scheduler polls. crt_spawn copies the frame
//      into the task: one allocation, usually from a cache.
//   4. What is awaited at the bottom (a read, a sleep, a lock) is a leaf. It parks
//      the task by linking the slot of the task into what it waits for.
//   5. A waker makes a task runnable: from the reactor, a timer, another task, any
//      thread. Wakers are {vtable, data}; clone one with crt_waker_clone to call
//      back into crt from foreign code.
//   6. Workers run tasks from their own queues, steal from each other when they
//      have none, and sleep in the reactor when nobody has any.
//   7. Cancelling is one unwind, delivered at the await where the task is parked:
//      the leaf is unlinked, CRT_FINALLY runs, child before parent.
//
// RULES FOR COROUTINES
//   * What must survive an await lives in the frame. A C local does not: between
//     two awaits it is a new variable: msg m = {1}; CRT_AWAIT(crt_mpsc_send(cx, tx, &m)) sends
//     rubbish if it has to wait. `make lint` in crt's repository shows the two compiler
//     checks that find most of it (this one only gcc's); use them on your own files:
//         clang -Wconditional-uninitialized    gcc -Wjump-misses-init
//     CRT_DEBUG sees at run time what changes while it is being sent.
//   * A frame is awaited in one place at a time: no two arms of a select share a child.
//   * Whatever takes cx and may wait needs CRT_AWAIT (or an arm of a select). A bare
//     crt_sleep(cx, d) does not wait: it parks, and the next await goes on with it (gcc and
//     clang warn, unless CRT_ALLOW_BARE_POLLS is defined; but never of one whose result is
//     assigned: self->n = crt_read(...) without CRT_AWAIT is for you to see).
//   * The awaited expression is evaluated again at every poll. So it is a poll
//     function, never a spawn, and its operands stay the same until it is done.
//   * Leave with CRT_RETURN. A plain `return` skips CRT_FINALLY and leaves the frame
//     parked at its last await.
//   * One await to a line. No await inside a nested switch (the trap in CRT_BEGIN
//     turns it into a panic with file and line). No variable-length array, no
//     __attribute__((cleanup)) around an await.
//   * The value awaited is a signed integer at least as wide as int.
//   * A frame as spawned must be safe to clean up: CRT_FINALLY runs also when a
//     task is cancelled before its first poll.
//   * Do not block: no sleep(), no file that may stall, no long loop. Files have
//     crt_fs_; give other such work to crt_spawn_blocking, or break loops up with
//     CRT_AWAIT(crt_consume_budget(cx)). A loop that awaits something of crt's lets others
//     run, also if that fails at once, each time.
//   * A mutex of the system must be unlocked before the next await; crt_mutex may
//     be held over it.
//   * In crt_select each arm gets a variable of its own: losers write CRT_UNWIND.
//   * Anything a losing arm had done so far is lost if it is not cancel-safe; each
//     declaration says whether it is. crt_read is, crt_read_exact is not.
//
// WHICH TO USE
//     one value, once              crt_oneshot      every value, to everybody   crt_broadcast
//     many senders, one receiver   crt_mpsc         only the latest value       crt_watch
//     a wake without data          crt_notify       stop, in a tree             crt_cancel_token
//     at most n at a time          crt_semaphore    n tasks that meet           crt_barrier
//     data held over an await      crt_mutex, crt_rwlock    made once           crt_once_cell
//     tasks that end with a block  crt_scope_run    results as tasks end        crt_join_set
//     wait for all, at the end     crt_task_tracker tasks with keys             crt_join_map
//     what expires, one by one     crt_delay_queue  tasks on one thread         crt_local_set
//     Data that several threads touch but nobody holds over an await is better under
//     a plain mutex of the system, or belongs to one task that others send to.
//
// ERRORS AND PANICS
//     0 or a result >= 0; a negative CRT_E* or -errno otherwise. crt_strerror and
//     crt_err_name give text. CRT_PANIC(cx, "format", ...) fails one task: the
//     message is kept, cleanup runs, crt_join says CRT_EPANIC, others live on. A
//     panic or an error that nobody joins goes to the log. The log prints errors
//     and warnings to stderr unless crt_config.log says otherwise.
//     NULL where something is needed is CRT_EINVAL, and nothing to do for a close or drop;
//     but cx is never NULL, and neither is what is asked for a bool, a count or a pointer,
//     changed by a function without a result, a crt_timer, or a structure of >>api sync in use.
//
// THREADS
//     A coroutine body, a cx and a frame belong to the thread that polls, which may
//     change between two polls; on the current-thread flavour only where several threads
//     drive it by turns (crt_block_on, crt_runtime_turn). Handles, join handles,
//     wakers, streams and everything under >>api sync and >>api channels may be used
//     from any thread, in a task or not; what waits without a task is called _blocking_.
//     Signals are blocked in crt's own threads. After fork() only exec is safe: in the
//     child crt_block_on, crt_runtime_turn, crt_runtime_shutdown and crt_join_blocking of
//     the parent's runtime give CRT_ENOCONTEXT, and crt_runtime_drop only sets the pointer
//     to NULL. crt_handle_spawn does not look, which would cost a system call: what is
//     spawned there never runs.
//
// MEMORY
//     crt_runtime_new allocates the workers; tasks and sockets come from chunks
//     that grow on demand and go back when the runtime is freed. Waiting allocates
//     nothing, but for what runs on the blocking pool, a connect, a task's first wait for a
//     signal, and a pause for want of descriptors or room. crt_spawn_in takes the caller's
//     memory. Every allocation may fail:
//     the call returns CRT_ENOMEM and has changed nothing.
//
// DEBUGGING
//     crt_dump(rt, stderr) prints a line for each task: id, name, state, the file
//     and line of the await that it is parked at, and what it waits for. The
//     resume point in a frame is that line, so `p *self` in a debugger shows it.
//     crt_metrics has the counters, crt_metrics_prometheus all of them as text;
//     crt_config.poll_histogram and schedule_histogram add how long polls took and how
//     long tasks waited for one; CRT_ENABLE_TRACE adds where each task was spawned, its
//     polls, wakes and times. Tests: crt_config.seed and start_paused make a current-thread
//     run reproducible, with a clock that jumps instead of waiting.

#if defined(CRT_IMPLEMENTATION) && defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE   // accept4, pipe2, CPU_COUNT; before the first system header
#elif defined(CRT_IMPLEMENTATION) && defined(__APPLE__) && !defined(_DARWIN_C_SOURCE)
#define _DARWIN_C_SOURCE
#elif defined(CRT_IMPLEMENTATION) && defined(__NetBSD__) && !defined(_NETBSD_SOURCE)
#define _NETBSD_SOURCE
#endif
#if defined(CRT_IMPLEMENTATION) && defined(_WIN32) && !defined(_WIN32_WINNT)
#define _WIN32_WINNT 0x0A00   // Windows 10; before the first system header
#endif
#if defined(CRT_IMPLEMENTATION) && defined(_WIN32) && !defined(_CRT_DECLARE_NONSTDC_NAMES)
#define _CRT_DECLARE_NONSTDC_NAMES 1   // O_RDONLY and its like, which MSVC hides with /Zc:__STDC__
#endif
#if defined(CRT_IMPLEMENTATION) && defined(__linux__) && defined(__SIZEOF_LONG__)
#if __SIZEOF_LONG__ == 4 && !defined(_FILE_OFFSET_BITS)
#define _FILE_OFFSET_BITS 64   // files longer than 2 GB, times after 2038; before the first system header
#ifndef _TIME_BITS
#define _TIME_BITS 64
#endif
#endif
#endif
#ifndef CRT_H
#define CRT_H

// ---------------------------------------------------------------------------
// >>config        what the compiler and the options decide
// ---------------------------------------------------------------------------
// Nothing here changes the layout of a public struct.

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#if UINTPTR_MAX < 0xffffffff || INT_MAX < 0x7fffffff
#error "crt.h needs pointers and int of 32 bits or more"
#endif

#define CRT_VERSION_MAJOR 0
#define CRT_VERSION_MINOR 1
#define CRT_VERSION_PATCH 0
#define CRT_VERSION "0.1.0"

// CRT__OUTLINE: one copy is enough. CRT__COLD: run seldom (set-up, failure, the end), so
// compiled for size and kept apart. To gcc a function is cold too if each path through it
// calls a cold one, and so is who calls it, up to the user's code: each public function has
// a path without (tests/size.sh looks). Under -Os the compiler knows better what to inline.
#if defined(__GNUC__) || defined(__clang__)
#define CRT__LIKELY(x) __builtin_expect(!!(x), 1)
#define CRT__UNLIKELY(x) __builtin_expect(!!(x), 0)
#if defined(__MINGW_PRINTF_FORMAT)
#define CRT__PRINTF(f, a) __attribute__((format(__MINGW_PRINTF_FORMAT, f, a)))
#else
#define CRT__PRINTF(f, a) __attribute__((format(printf, f, a)))
#endif
#define CRT__UNUSED __attribute__((unused))
#ifdef __OPTIMIZE_SIZE__
#define CRT__OUTLINE
#define CRT__COLD __attribute__((cold))
#else
#define CRT__OUTLINE __attribute__((noinline))
#define CRT__COLD __attribute__((cold, noinline))
#endif
#define CRT__INLINE inline __attribute__((always_inline))   // for the callers' constants, and in each wait
#define CRT__PREFETCH(p) __builtin_prefetch((p), 1)   // to be written to; any address will do
#else
#define CRT__LIKELY(x) (x)
#define CRT__UNLIKELY(x) (x)
#define CRT__PRINTF(f, a)
#define CRT__UNUSED
#define CRT__OUTLINE
#define CRT__COLD
#define CRT__INLINE inline
#define CRT__PREFETCH(p) ((void)(p))
#endif

#ifndef CRTDEF
#ifdef CRT_STATIC
#define CRTDEF CRT__UNUSED static
#else
#define CRTDEF extern
#endif
#endif
// A poll that waits. Called without CRT_AWAIT it only begins to: the compiler warns.
#if (defined(__GNUC__) || defined(__clang__)) && !defined(CRT_ALLOW_BARE_POLLS)
#define CRTDEF_POLL CRTDEF __attribute__((warn_unused_result)) crt_poll
#else
#define CRTDEF_POLL CRTDEF crt_poll
#endif

// A case label inside CRT_AWAIT is reached by falling into it: say so.
#if defined(__cplusplus) && __cplusplus >= 201703L
#define CRT__FALLTHROUGH [[fallthrough]]
#elif defined(__has_attribute)
#if __has_attribute(fallthrough)
#define CRT__FALLTHROUGH __attribute__((fallthrough))
#endif
#endif
#ifndef CRT__FALLTHROUGH
#define CRT__FALLTHROUGH ((void)0)
#endif
// Before CRT_FINALLY, which after an endless loop nothing falls into: clang, before 14
// unasked, finds fault with the annotation then.
#if defined(__clang__)
#if __clang_major__ < 14
#define CRT__IGNORE_FALLTHROUGH _Pragma("clang diagnostic ignored \"-Wimplicit-fallthrough\"")
#else
#define CRT__IGNORE_FALLTHROUGH _Pragma("clang diagnostic ignored \"-Wunreachable-code-fallthrough\"")
#endif
#define CRT__FALLTHROUGH_IF_REACHED                                                        \
    _Pragma("clang diagnostic push") CRT__IGNORE_FALLTHROUGH                               \
    CRT__FALLTHROUGH; _Pragma("clang diagnostic pop")
#else
#define CRT__FALLTHROUGH_IF_REACHED CRT__FALLTHROUGH;
#endif

#ifdef __cplusplus
#define CRT__ALIGNAS(n) alignas(n)
#else
#define CRT__ALIGNAS(n) _Alignas(n)
#endif

#ifdef __cplusplus
extern "C" {
#endif

// ---------------------------------------------------------------------------
// >>errors        one list: name, number, text
// ---------------------------------------------------------------------------
// Every function returns 0 or a result >= 0, or one of these, or -errno as the
// system gave it. Names that POSIX has are -errno, so that a code from the
// system and a code from crt compare equal; crt's own start at -20001.

#define CRT__ERRORS(X)                                                                     \
    X(CRT_ENOMEM, -ENOMEM, "out of memory; nothing was changed")                           \
    X(CRT_EINVAL, -EINVAL, "invalid argument")                                             \
    X(CRT_EAGAIN, -EAGAIN, "not ready; try again when readable or writable")               \
    X(CRT_EBUSY, -EBUSY, "in use")                                                         \
    X(CRT_ECANCELED, -ECANCELED, "the task was cancelled")                                 \
    X(CRT_ETIMEDOUT, -ETIMEDOUT, "the deadline passed")                                    \
    X(CRT_ECONNRESET, -ECONNRESET, "connection reset by peer")                             \
    X(CRT_EMSGSIZE, -EMSGSIZE, "longer than the limit that was set")                       \
    X(CRT_EPROTO, -EPROTO, "not what the protocol, or the script, says")                   \
    X(CRT_EPANIC, -20001, "the task panicked")                                             \
    X(CRT_ECLOSED, -20002, "the other side is closed")                                     \
    X(CRT_EFULL, -20003, "no room in the queue")                                           \
    X(CRT_EEMPTY, -20004, "nothing in the queue")                                          \
    X(CRT_ELAGGED, -20005, "the receiver was too slow; messages were skipped")             \
    X(CRT_EEOF, -20006, "end of stream before the bytes that were asked for")              \
    X(CRT_ENODRIVER, -20007, "the runtime was built without the driver that this needs")   \
    X(CRT_ENESTED, -20008, "called from inside a task; it would block the worker")         \
    X(CRT_ESHUTDOWN, -20009, "the runtime is shutting down")                               \
    X(CRT_ENOTFOUND, -20011, "no such name or address")                                    \
    X(CRT_ENOCONTEXT, -20010, "not inside a runtime of the kind that this needs")

#define CRT__ERROR_ENUM(name, number, text) name = (number),
enum crt_error { CRT__ERRORS(CRT__ERROR_ENUM) CRT__ERROR_LAST = -20999 };
#undef CRT__ERROR_ENUM

// The text for a code: crt's own, or the system's. Never NULL. Any thread. Of CRT_PENDING and
// CRT_UNWIND, which are no errors and no results, what to do with them.
CRTDEF const char *crt_strerror(int error);
// The name, "CRT_ECLOSED", also "CRT_PENDING" and "CRT_UNWIND"; "E?" for a code that is not in the list above.
CRTDEF const char *crt_err_name(int error);

// ---------------------------------------------------------------------------
// >>core types    poll, context, waker, slot, frame
// ---------------------------------------------------------------------------

// The result of a poll: >= 0 a result, < 0 an error, or one of two sentinels.
// Both sentinels fit an int, so `int n; CRT_AWAIT(n = crt_read(...))` is safe (-Wconversion
// names it all the same; crt_poll is silent).
typedef intptr_t crt_poll;
#define CRT_PENDING ((crt_poll)INT_MIN)        // not ready: a waker has been stored
#define CRT_UNWIND ((crt_poll)(INT_MIN + 1))   // this task is being cancelled, or panicked

typedef struct crt_cx crt_cx;
typedef struct crt_runtime crt_runtime;
typedef struct crt_handle crt_handle;
typedef struct crt_join_handle crt_join_handle;
typedef struct crt_stream crt_stream;
typedef struct crt_listener crt_listener;
typedef struct crt_udp crt_udp;

// A task body, or any other thing that can be awaited by hand: polled with its
// frame until it returns something other than CRT_PENDING.
typedef crt_poll (*crt_fn)(void *frame, crt_cx *cx);

// Durations and instants are signed 64-bit nanoseconds. An instant counts from
// a point that differs between runtimes; only differences mean something. Fractions
// count: CRT_SEC(0.5).
typedef int64_t crt_duration;
typedef int64_t crt_instant;
#define CRT_NS(n) ((crt_duration)(n))
#define CRT_US(n) ((crt_duration)((n) * INT64_C(1000)))
#define CRT_MS(n) ((crt_duration)((n) * INT64_C(1000000)))
#define CRT_SEC(n) ((crt_duration)((n) * INT64_C(1000000000)))
#define CRT_FOREVER ((crt_duration)INT64_MAX)

// The place of an await, for panics and crt_dump.
typedef struct crt_site {
    const char *file, *func;
    uint32_t line;
} crt_site;

// Where the leaf operation that is being awaited keeps its node: a timer entry,
// a place in a wait queue, the progress of a write_all. A task waits for one
// thing at a time, so one slot lives in the task (crt_select brings one for each
// arm) and user code declares nothing. The fields belong to the operation parked
// here; all zero is idle.
struct crt_task;
typedef struct crt_slot {
    const struct crt__op *op;       // the parked operation, NULL when idle
    struct crt_task *task;          // whom to wake
    struct crt_slot *next, *prev;   // place in a list of waiters or of timers
    void *object;                   // what is waited for
    uint64_t value;                 // a deadline, permits wanted, bytes done
    uint32_t state, extra;          // the operation's own
} crt_slot;

// Resume point of a coroutine, the first member of its frame. All zero: ready.
typedef struct crt_frame {
    uint32_t resume;   // line of the await it is parked at; 0 at the start
    uint32_t flags;
    crt_poll result;   // the value on its way out while CRT_FINALLY runs
} crt_frame;

// Slots that live inside user frames (crt_select, crt_timer) are listed in their
// task, so that nothing dangles when a task is freed while parked.
typedef struct crt__group {
    struct crt__group *next, **pprev;
    crt_slot *first;
    uint32_t count, stride;   // `count` slots, `stride` bytes apart
} crt__group;

// A queue of waiting slots under a small lock.
typedef struct crt__waitq {
    crt_slot *head, *tail;
    uint32_t lock;
    uint32_t extra;
} crt__waitq;

// What every poll is given. Valid during that poll only, on that thread only.
struct crt_cx {
    crt_slot *slot;            // for the leaf that is awaited now
    struct crt_task *task;
    crt_runtime *rt;
    struct crt__worker *worker;
    struct crt__select *select;   // innermost select or join being evaluated
    const crt_site *site;         // innermost await that parked in this poll
    struct crt__local *locals;    // innermost crt_with_local being evaluated
    crt_poll scratch;             // the macros', between two parts of one expression
    uint32_t budget;              // operations left before the task must yield
    uint8_t unwind;               // a cancellation that the next leaf will take
    uint8_t deferred;             // this task yielded: run it after the drivers
    uint8_t unconstrained;
    uint8_t panics;            // counts those of this thread, modulo 256
    int64_t poll_began;           // ns; only if somebody measures polls
};

// A waker is a vtable and a word, as in Tokio. It works from any thread, may be
// called any number of times, and outlives its task safely. A zeroed crt_waker
// is empty: waking or dropping it does nothing.
typedef struct crt_waker_vtable {
    void (*clone)(void *data);         // one more reference
    void (*wake_by_ref)(void *data);   // schedule the task
    void (*drop)(void *data);          // one reference less
} crt_waker_vtable;
typedef struct crt_waker {
    const crt_waker_vtable *vtable;
    void *data;
} crt_waker;

// A waker for the task being polled. Drop it with crt_waker_drop, or use it up
// with crt_wake. Mirrors Context::waker().clone().
CRTDEF crt_waker crt_waker_clone(crt_cx *cx);
// Wakes the task and drops the waker; *w becomes empty. Any thread.
CRTDEF void crt_wake(crt_waker *w);
// Wakes the task and keeps the waker. Any thread.
CRTDEF void crt_wake_by_ref(const crt_waker *w);
// Drops the waker; *w becomes empty. Any thread; accepts an empty waker.
CRTDEF void crt_waker_drop(crt_waker *w);
// Would this waker wake the task being polled? Then a new clone is not needed.
CRTDEF bool crt_waker_will_wake(const crt_waker *w, const crt_cx *cx);

// For hand-written poll functions: is a cancellation being delivered? If true it
// has been taken: release what you hold and return CRT_UNWIND.
CRTDEF bool crt_take_unwind(crt_cx *cx);

// ---------------------------------------------------------------------------
// >>coroutine     CRT_BEGIN, CRT_AWAIT, CRT_FINALLY, CRT_END
// ---------------------------------------------------------------------------
// A coroutine is one switch over the resume point. The state *is* the line of
// the await (a counter under MSVC, whose __LINE__ is no constant with /ZI), so two awaits
// cannot share a line, and a dump can print where a task is. The state is stored
// before the awaited expression is evaluated.

#if defined(_MSC_VER) && !defined(__clang__) && !defined(CRT_USE_COUNTER)
#define CRT_USE_COUNTER
#endif
#ifdef CRT_USE_COUNTER
#define CRT__STATE(line, counter) (counter)
#define CRT__COUNT __COUNTER__ + 1
#ifdef __clang__   // from 22 on it calls __COUNTER__ an extension, in the user's file, under -Wpedantic
#if __has_warning("-Wc2y-extensions")
#pragma clang diagnostic ignored "-Wc2y-extensions"
#endif
#endif
#else
#define CRT__STATE(line, counter) (line)
#define CRT__COUNT 0
#endif
// The place of an await, a constant; but to MSVC __func__ is none, and with /ZI nor is __LINE__, which is
// written in before somebody may read it: by any thread, the same each time.
#if defined(_MSC_VER) && !defined(__clang__)
#define CRT__SITE(name) static crt_site name = {__FILE__, __FUNCTION__, 0}
#define CRT__SITE_LINE(name) (void)(*(volatile uint32_t *)&(name).line = (uint32_t)__LINE__)
#else
#define CRT__SITE(name) static const crt_site name = {__FILE__, __func__, __LINE__}
#define CRT__SITE_LINE(name) ((void)0)
#endif

enum {
    CRT__STATE_FINALLY = INT_MAX,     // CRT_FINALLY has to run
    CRT__STATE_DONE = INT_MAX - 1,    // nothing is left to run
    CRT__FRAME_IN_FINALLY = 1
};

// If a compile error about a type led you here: the value awaited must go into a
// signed integer at least as wide as int (crt_poll, int, long, ptrdiff_t).
// Anything narrower or unsigned would lose CRT_PENDING.
#if defined(__cplusplus)
#define CRT__AUTO auto
#define CRT__CHECK_POLL(r)                                                                 \
    static_assert(sizeof(r) >= sizeof(int) && static_cast<decltype(r + 0)>(-1) < 0 &&      \
                      static_cast<decltype(r + 0)>(1) / 2 == 0,                            \
                  "CRT_AWAIT needs a signed integer at least as wide as int")
#elif defined(__GNUC__) || defined(__clang__)
#define CRT__AUTO __extension__ __auto_type
#define CRT__CHECK_POLL(r)                                                                 \
    _Static_assert(_Generic((r), int: 1, long: 1, long long: 1, default: 0),               \
                   "CRT_AWAIT needs a signed integer at least as wide as int")
#else
#define CRT__AUTO crt_poll
#define CRT__CHECK_POLL(r) ((void)0)
#endif

#if defined(CRT_DEBUG) && !defined(__cplusplus)
#define CRT__CHECK_FRAME(self)                                                             \
    CRT__SITE_LINE(crt__begin);                                                            \
    CRT__CHECK_FIRST(self)                                                                 \
    if (!crt__frame_fits(crt__f, crt__cx, CRT__SIZE_OF(self), &crt__begin)) goto crt__done;
#if defined(__GNUC__) || defined(__clang__)
// If a compile error about an initializer led you here: the first member of the frame is no crt_frame.
#define CRT__CHECK_FIRST(self)                                                             \
    _Pragma("GCC diagnostic push")                                                         \
    _Pragma("GCC diagnostic ignored \"-Wmissing-field-initializers\"")                     \
    _Pragma("GCC diagnostic ignored \"-Wmissing-braces\"")                                 \
    (void)sizeof((__typeof__(*_Generic((self), crt_frame *: (struct crt__begins *)0,       \
        const crt_frame *: (struct crt__begins *)0, void *: (struct crt__begins *)0,       \
        const void *: (struct crt__begins *)0, default: (self)))){*(crt_frame *)0});       \
    _Pragma("GCC diagnostic pop")
struct crt__begins { crt_frame with; };
#else
#define CRT__CHECK_FIRST(self)
#endif
#else
#define CRT__CHECK_FRAME(self)
#endif
// Opens the body. `self` points to the frame, whose first member is a crt_frame.
// The default arm is the trap: a resume point that this switch does not have,
// which is what an await inside a nested switch (or a frame that was scribbled
// over) leads to. The task panics with file, function and line.
#define CRT_BEGIN(self, cx)                                                                \
    crt_frame *const crt__f = (crt_frame *)(void *)(self);                                 \
    crt_cx *const crt__cx = (cx);                                                          \
    CRT__SITE(crt__begin);                                                                 \
    goto crt__again;                                                                       \
    crt__again:                                                                            \
    switch (crt__f->resume) {                                                              \
    default:                                                                               \
        CRT__SITE_LINE(crt__begin);                                                        \
        if (crt__done_or_trap(crt__f, crt__cx, &crt__begin)) goto crt__done;               \
        goto crt__again;                                                                   \
    case 0:                                                                                \
        CRT__CHECK_FRAME(self)                                                             \
        if (CRT__UNLIKELY(crt__cx->unwind) && crt__unwind_at_start(crt__f, crt__cx))       \
            goto crt__again;

// Waits for a poll function: CRT_AWAIT(self->n = crt_read(cx, ...)). It returns
// from the coroutine while the result is CRT_PENDING and evaluates the expression
// again at the next poll, so what it points to lives in the frame, and it is a
// poll function, never a spawn. On CRT_UNWIND it jumps to CRT_FINALLY.
// If a compile error led you here ("duplicate case value"): two awaits on one
// line. ("jump to case label", "crosses initialization"): a local declared
// between awaits; put it in the frame or in braces that hold no await.
#define CRT_AWAIT(...) CRT__AWAIT_(__LINE__, CRT__COUNT, __VA_ARGS__)
#define CRT__AWAIT_(line, count, ...) CRT__AWAIT__(CRT__STATE(line, count), __VA_ARGS__)
#define CRT__AWAIT__(at, ...)                                                              \
    do {                                                                                   \
        CRT__SITE(crt__here);                                                              \
        crt__f->resume = (uint32_t)(at);                                                   \
        CRT__FALLTHROUGH;                                                                  \
    case (at): {                                                                           \
        CRT__AUTO crt__r = (__VA_ARGS__);                                                  \
        CRT__CHECK_POLL(crt__r);                                                           \
        if (CRT__UNLIKELY((crt_poll)crt__r <= CRT_UNWIND)) {                               \
            CRT__SITE_LINE(crt__here);                                                     \
            if ((crt_poll)crt__r == CRT_PENDING && crt__park_here(crt__cx, &crt__here))    \
                return CRT_PENDING;                                                        \
            if (crt__unwound(crt__f)) goto crt__again;                                     \
        }                                                                                  \
    }                                                                                      \
    } while (0)

// To the back of the queue once; drivers are polled before this task runs again.
#define CRT_YIELD() CRT_AWAIT(crt_yield_now(crt__cx))

// Ends the coroutine with a value, through CRT_FINALLY. Inside CRT_FINALLY it
// ends the cleanup; a cancellation or panic on its way out keeps its place. The
// value of a wait has to be awaited first: CRT_PENDING is a panic.
#define CRT_RETURN(...)                                                                    \
    do {                                                                                   \
        crt__leave(crt__f, crt__result(crt__cx, (crt_poll)(__VA_ARGS__), &crt__begin, __LINE__)); \
        goto crt__again;                                                                   \
    } while (0)

// Fails the task: the message is kept for crt_join_panic_message and the log,
// every coroutine up to the root runs its CRT_FINALLY, the join says CRT_EPANIC.
#define CRT_PANIC(cx, ...)                                                                 \
    do {                                                                                   \
        crt__panic_at((cx), __FILE__, __func__, __LINE__, __VA_ARGS__);                    \
        crt__leave(crt__f, CRT_UNWIND);                                                    \
        goto crt__again;                                                                   \
    } while (0)

// Opens the cleanup, which runs once however the coroutine ends: by CRT_RETURN,
// by reaching this line (result 0), by cancellation, by panic, or by a
// cancellation before the first poll: it must accept a frame as spawned. It may
// await, write files and spawn blocking jobs, also while the runtime shuts down; only new tasks
// are refused then (CRT_ESHUTDOWN). A cancellation that arrives meanwhile, if it is the task's first, cuts
// one await short (its value is CRT_UNWIND) and the cleanup goes on: it always reaches its end. Optional.
#define CRT_FINALLY                                                                        \
    crt__leave(crt__f, 0);                                                                 \
    CRT__FALLTHROUGH_IF_REACHED                                                            \
    case CRT__STATE_FINALLY:                                                               \
        crt__f->flags |= CRT__FRAME_IN_FINALLY;

// Closes the body. The frame is ready to run again. A `break` that leaves the body
// (which is a switch) comes by here: it counts as CRT_RETURN(0).
#define CRT_END                                                                            \
    }                                                                                      \
    if (crt__broke_out(crt__f)) goto crt__again;                                           \
    crt__done:                                                                             \
    return crt__finish(crt__f)

// Every file with a coroutine asks for this one, by a name with the version and the way
// states are counted in it: files that do not go together do not link.
#ifdef CRT_USE_COUNTER
#define CRT__STATES counter
#else
#define CRT__STATES line
#endif
#define CRT__LINKED__(name, major, minor, patch, states) name##_##major##_##minor##_##patch##_##states
#define CRT__LINKED_(name, major, minor, patch, states) CRT__LINKED__(name, major, minor, patch, states)
#define crt__done_or_trap                                                                  \
    CRT__LINKED_(crt__trap, CRT_VERSION_MAJOR, CRT_VERSION_MINOR, CRT_VERSION_PATCH, CRT__STATES)

// Used by the macros above.
static inline void crt__leave(crt_frame *f, crt_poll result)
{
    bool cleaning = (f->flags & CRT__FRAME_IN_FINALLY) != 0;
    if (!(cleaning && f->result == CRT_UNWIND)) f->result = result;
    f->resume = cleaning ? CRT__STATE_DONE : CRT__STATE_FINALLY;
}
CRTDEF crt_poll crt__no_result(crt_cx *cx, const crt_site *begin, int line);
static inline crt_poll crt__result(crt_cx *cx, crt_poll r, const crt_site *begin, int line)
{
    return CRT__LIKELY(r != CRT_PENDING) ? r : crt__no_result(cx, begin, line);
}
// An await was cut short. False: inside CRT_FINALLY, which goes on.
static inline bool crt__unwound(crt_frame *f)
{
    bool cleaning = (f->flags & CRT__FRAME_IN_FINALLY) != 0;
    if (cleaning) f->result = CRT_UNWIND;
    else crt__leave(f, CRT_UNWIND);
    return !cleaning;
}
static inline bool crt__broke_out(crt_frame *f)
{
    if (f->flags & CRT__FRAME_IN_FINALLY) return false;
    crt__leave(f, 0);
    return true;
}
static inline crt_poll crt__finish(crt_frame *f)
{
    crt_poll result = f->result;
    f->resume = f->flags = 0;
    f->result = 0;
    return result;
}
static inline bool crt__unwind_at_start(crt_frame *f, crt_cx *cx)
{
    (void)crt_take_unwind(cx);
    crt__leave(f, CRT_UNWIND);
    return true;
}
static CRT__INLINE bool crt__park_here(crt_cx *cx, const crt_site *here)
{
    if (CRT__UNLIKELY(cx->unwind)) return !crt_take_unwind(cx);   // an awaited function that did not look
    if (!cx->site) cx->site = here;   // children return first: the innermost stays
    return true;
}
CRTDEF bool crt__done_or_trap(crt_frame *f, crt_cx *cx, const crt_site *begin);
CRTDEF bool crt__frame_fits(crt_frame *f, crt_cx *cx, size_t size, const crt_site *begin);
CRTDEF void crt__panic_at(crt_cx *cx, const char *file, const char *func, int line,
                          const char *format, ...) CRT__PRINTF(5, 6);

// The panic of a hand-written poll function: `return crt_panic(cx, "...")`.
#define crt_panic(cx, ...)                                                                 \
    (crt__panic_at((cx), __FILE__, __func__, __LINE__, __VA_ARGS__), CRT_UNWIND)

// ---------------------------------------------------------------------------
// >>api runtime   configuration, runtime, handle
// ---------------------------------------------------------------------------

enum { CRT_MULTI_THREAD = 0, CRT_CURRENT_THREAD = 1 };   // crt_config.flavor
enum {
    CRT_DRIVER_IO = 1,       // sockets and descriptors
    CRT_DRIVER_TIME = 2,     // timers
    CRT_DRIVER_SIGNAL = 4,   // signals; needs CRT_DRIVER_IO
    CRT_DRIVER_ALL = 7,
    CRT_DRIVER_NONE = 128
};
enum { CRT_PANIC_IGNORE = 0, CRT_PANIC_SHUTDOWN = 1 };   // crt_config.unhandled_panic
enum { CRT_HISTOGRAM_OFF = 0, CRT_HISTOGRAM_LINEAR = 1, CRT_HISTOGRAM_LOG = 2 };   // .poll_histogram,
                                                                            // .schedule_histogram
enum { CRT_LOG_ERROR = 1, CRT_LOG_WARN = 2, CRT_LOG_INFO = 3, CRT_LOG_DEBUG = 4 };

// Both functions or neither. alloc_fn may return NULL; free_fn never gets NULL. Neither (and neither
// CRT_MALLOC nor CRT_FREE) may call crt, which may hold a lock while it calls them.
typedef struct crt_allocator {
    void *(*alloc_fn)(size_t size, void *user_data);
    void (*free_fn)(void *ptr, void *user_data);
    void *user_data;
} crt_allocator;

// Where log lines go. func NULL: errors and warnings to stderr. The message has
// no newline at its end and is valid during the call. Any thread may call it. It must not call what
// of crt may log: it would be called again, from inside itself.
typedef struct crt_log {
    void (*func)(int level, const char *message, void *user_data);
    void *user_data;
    int level;   // the least urgent level wanted (CRT_LOG_WARN)
} crt_log;

// What a task hook is told.
typedef struct crt_task_meta {
    uint64_t id;
    const char *name;   // NULL if it has none
    crt_fn fn;
    const char *spawned_at;          // "file:line" of the crt_spawn...; NULL: by crt_block_on
    crt_duration schedule_latency;   // on_before_poll, with schedule_histogram: for how long it
                                     // could have run, in ns; otherwise -1
} crt_task_meta;

// How to build a runtime; zero is the default, which the comments name. Mirrors
// runtime::Builder.
typedef struct crt_config {
    int flavor;                       // CRT_MULTI_THREAD
    int worker_threads;               // CRT_WORKER_THREADS in the environment, else the
                                      // CPUs that affinity and cgroup allow; at most 1024. The
                                      // current-thread flavour has one, whatever of these it is
    int max_blocking_threads;         // 512
    int max_lookups;                  // 16, at most half of the blocking threads; names
                                      // looked up at the same time
    crt_duration thread_keep_alive;   // CRT_SEC(10); of an idle blocking thread
    size_t thread_stack_size;         // the system's; at least 16384, raised to what the system needs
    const char *thread_name;          // "crt-worker"
    unsigned drivers;                 // CRT_DRIVER_ALL
    int global_queue_interval;        // 31 on the current thread; multi-thread: self-tuned
    int event_interval;               // 61 tasks between two looks at the drivers
    int max_io_events;                // 1024 for one look; at most 65536
    bool disable_lifo_slot;           // false
    bool start_paused;                // false; the virtual clock, current thread only
    uint64_t seed;                    // random; select order, steal victims
    int unhandled_panic;              // CRT_PANIC_IGNORE
    crt_allocator allocator;          // CRT_MALLOC and CRT_FREE
    crt_log log;                      // stderr
    void *hook_data;                  // handed to every hook
    void (*on_thread_start)(void *hook_data);
    void (*on_thread_stop)(void *hook_data);
    void (*on_thread_park)(void *hook_data);
    void (*on_thread_unpark)(void *hook_data);
    // With one of these each task takes 16 bytes more, for crt_task_meta.spawned_at.
    void (*on_task_spawn)(void *hook_data, const crt_task_meta *task);
    void (*on_task_terminate)(void *hook_data, const crt_task_meta *task);
    union {   // each by two names
        void (*on_task_before_poll)(void *hook_data, const crt_task_meta *task);
        void (*on_before_poll)(void *hook_data, const crt_task_meta *task);
    };
    union {
        void (*on_task_after_poll)(void *hook_data, const crt_task_meta *task);
        void (*on_after_poll)(void *hook_data, const crt_task_meta *task);
    };
    int poll_histogram;               // CRT_HISTOGRAM_OFF; how long polls take, see
                                      // crt_metrics_poll_bucket: two looks at the clock a poll
    int poll_histogram_buckets;       // 10, log: 27; 2 to 64, the last without upper end
    crt_duration poll_histogram_resolution;   // of the first bucket, in ns: CRT_US(100), log:
                                      // CRT_US(1); at most CRT_SEC(1). All are as wide; log:
                                      // each twice the last one
    int schedule_histogram;           // CRT_HISTOGRAM_OFF; how long tasks wait until they run,
                                      // see crt_metrics_schedule_bucket: a look at the clock a
                                      // wake and two a poll, 16 bytes more a task. Off, it costs
                                      // none of that: tasks are allocated without the room
    int schedule_histogram_buckets;   // as poll_histogram_buckets
    crt_duration schedule_histogram_resolution;   // as poll_histogram_resolution
} crt_config;

// Builds a runtime and starts its workers. `config` may be NULL. 0, or
// CRT_EINVAL (a log line names the field), CRT_ENOMEM, or -errno; *rt is then NULL.
// Any thread; several runtimes may live side by side. Mirrors Builder::build.
CRTDEF int crt_runtime_new(const crt_config *config, crt_runtime **rt);

// Runs fn over the caller's frame as a task until it ends and blocks the calling
// thread meanwhile. On the current-thread flavour the calling thread drives the
// runtime; when several threads call it, they take turns. On the multi-thread
// flavour the task runs on a worker, so that what it says to other tasks stays
// local. The task's result; CRT_ENESTED inside a task; CRT_EPANIC,
// CRT_ECANCELED, CRT_ESHUTDOWN, CRT_ENOMEM. Any thread. Mirrors Runtime::block_on.
CRTDEF crt_poll crt_block_on(crt_runtime *rt, crt_fn fn, void *frame);

// Stops the runtime: no new tasks, and no new jobs but those of its tasks, each of which is cancelled
// through its CRT_FINALLY; then queued blocking jobs are dropped, running ones waited for. What
// has not ended after `timeout` ns is named in the log, freed where it can be,
// and counted in the result: a worker may still be inside a poll then, so what such
// tasks point at or wait for must last until their joins are done. Such a poll gets 100 ms
// beyond the deadline to return. 0: each CRT_FINALLY runs to its first wait, and no further (what
// it would have released after that is not); polls and jobs that go on end in the background.
// CRT_FOREVER: wait. A second call returns 0. CRT_EINVAL (a negative timeout), CRT_ENESTED: inside
// a task of any runtime, or a hook or job of this one. Any plain thread. Mirrors Runtime::shutdown_timeout.
CRTDEF int crt_runtime_shutdown(crt_runtime *rt, crt_duration timeout);
// crt_runtime_shutdown(CRT_FOREVER) unless that has been done (one that goes on in another
// thread is waited for), then lets go of the runtime; *rt becomes NULL. Its memory goes with
// the last handle, join handle, stream and waker. Where crt_runtime_shutdown says CRT_ENESTED it does nothing but
// log that, and *rt stays.
CRTDEF void crt_runtime_drop(crt_runtime **rt);

// Current thread: polls the drivers without waiting, then runs ready tasks, and
// returns how many were polled. max_time 0: the tasks that were ready when it
// was called (below 0: as 0); otherwise until nothing is ready or max_time ns have passed.
// CRT_EINVAL on the multi-thread flavour, CRT_ENESTED inside a task, CRT_EBUSY
// while another thread drives, CRT_ESHUTDOWN after the end. For a frame of a game.
CRTDEF int crt_runtime_turn(crt_runtime *rt, crt_duration max_time);
// A descriptor for poll() or another loop: readable when crt_runtime_turn has something to do, timers apart;
// for those crt_runtime_next_deadline is the time-out. After the end it stays readable.
// CRT_ENODRIVER without CRT_DRIVER_IO; CRT_EINVAL.
CRTDEF intptr_t crt_runtime_poll_fd(crt_runtime *rt);
// How long until crt_runtime_turn has something to do, in ns: 0 if tasks are
// ready, CRT_FOREVER if there is no timer, or while another thread drives (the poll descriptor
// becomes readable when it leaves something to do); CRT_EINVAL on the multi-thread flavour.
CRTDEF crt_duration crt_runtime_next_deadline(crt_runtime *rt);
// The configuration with every default filled in. Valid while the runtime lives.
CRTDEF const crt_config *crt_runtime_config(const crt_runtime *rt);

// A new reference that works from any thread, also after the runtime has shut
// down (spawning then gives CRT_ESHUTDOWN). Drop it. Mirrors Runtime::handle.
CRTDEF crt_handle *crt_runtime_handle(crt_runtime *rt);
// The same for the runtime this thread works for: inside a task, a blocking job
// or a hook. NULL outside. Mirrors Handle::try_current.
CRTDEF crt_handle *crt_handle_current(void);
CRTDEF crt_handle *crt_handle_clone(crt_handle *h);
CRTDEF void crt_handle_drop(crt_handle **h);
CRTDEF crt_poll crt_handle_block_on(crt_handle *h, crt_fn fn, void *frame);

// main() for a program that is one task: a multi-thread runtime, a zeroed frame,
// the task's result as exit code (0 to 125; an error: 1 and a line on stderr). Other
// tasks are cancelled when it ends, as by crt_runtime_drop.
// Mirrors #[tokio::main].
#define CRT_MAIN(fn, frame_type)                                                           \
    int main(int argc, char **argv)                                                        \
    {                                                                                      \
        static frame_type frame;                                                           \
        return crt__main((fn), &frame, argc, argv);                                        \
    }
CRTDEF int crt__main(crt_fn fn, void *frame, int argc, char **argv);
// The arguments that CRT_MAIN was given.
CRTDEF int crt_args(char ***argv);

// ---------------------------------------------------------------------------
// >>api tasks     spawn, join, abort, yield, blocking
// ---------------------------------------------------------------------------

// What each macro that spawns hands on: the frame, its size, and the place for hooks. A
// void pointer says no size (gcc would take 1): NULL is then a frame for a coroutine that has
// no variables, anything else is refused.
#define CRT__NO_SIZE SIZE_MAX
#ifdef __cplusplus
extern "C++" {
template <class T> struct crt__frame_of {
    static_assert(__is_trivially_copyable(T), "a frame that is spawned is copied as bytes, and no destructor runs in "
                                              "the task: keep a pointer to what has one, and delete it in CRT_FINALLY");
    static constexpr size_t value = sizeof(T);
};
template <class T> T &crt__some();
template <class T> T crt__value_of(T);
template <class T> crt__frame_of<T> crt__pointed_to(const T &);
template <class T, class = void> struct crt__size_of { static constexpr size_t value = CRT__NO_SIZE; };   // NULL
template <class T> struct crt__size_of<T, decltype((void)crt__pointed_to(*crt__some<T>()))> {
    static constexpr size_t value = decltype(crt__pointed_to(*crt__some<T>()))::value;
};
template <> struct crt__size_of<void *, void> { static constexpr size_t value = CRT__NO_SIZE; };
template <> struct crt__size_of<const void *, void> { static constexpr size_t value = CRT__NO_SIZE; };
}
#define CRT__SIZE_OF(...) (crt__size_of<decltype(crt__value_of(__VA_ARGS__))>::value)
#else
#define CRT__SIZE_OF(...)                                                                  \
    _Generic((__VA_ARGS__), void *: CRT__NO_SIZE, const void *: CRT__NO_SIZE,              \
        default: sizeof *_Generic((__VA_ARGS__), void *: (char *)0, const void *: (char *)0, default: (__VA_ARGS__)))
#endif
#define CRT__FRAME(...) (__VA_ARGS__), CRT__SIZE_OF(__VA_ARGS__), CRT__SPAWN_SITE
#define CRT__SPAWN_SITE __FILE__ ":" CRT__TEXT(__LINE__)
#define CRT__TEXT(x) CRT__TEXT_(x)
#define CRT__TEXT_(x) #x

// Starts a task: fn over a copy of *frame, in one allocation. Detached: its
// result is dropped, but a panic or an error goes to the log (the first 16 of a runtime, then
// fewer and fewer). 0, CRT_ENOMEM, CRT_ESHUTDOWN, CRT_EINVAL (no fn; a frame without a type:
// pass `self`, not the void pointer). From a task: elsewhere crt_handle_spawn. Mirrors tokio::spawn.
//     crt_spawn(cx, conn_run, &(conn){ .peer = s });
#define crt_spawn(cx, fn, ...)                                                             \
    crt__spawn((cx), NULL, (fn), CRT__FRAME(__VA_ARGS__))
// The same, and *join receives a handle. On failure *join is NULL.
#define crt_spawn_join(cx, join, fn, ...)                                                  \
    crt__spawn((cx), (join), (fn), CRT__FRAME(__VA_ARGS__))
// A task that stays with the caller, on the thread that drives both: on the current-thread flavour
// any task (several threads may drive that, by turns), on the multi-thread flavour from inside a
// crt_local_set only (CRT_ENOCONTEXT elsewhere). Mirrors task::spawn_local.
#define crt_spawn_local(cx, fn, ...)                                                       \
    crt__spawn_local((cx), NULL, (fn), CRT__FRAME(__VA_ARGS__))
#define crt_spawn_local_join(cx, join, fn, ...)                                            \
    crt__spawn_local((cx), (join), (fn), CRT__FRAME(__VA_ARGS__))
// From any thread. Mirrors Handle::spawn.
#define crt_handle_spawn(h, fn, ...)                                                       \
    crt__handle_spawn((h), NULL, (fn), CRT__FRAME(__VA_ARGS__))
#define crt_handle_spawn_join(h, join, fn, ...)                                            \
    crt__handle_spawn((h), (join), (fn), CRT__FRAME(__VA_ARGS__))

// Memory for one task with that frame, owned by the caller, all zero before its first use:
//     static CRT_TASK_STORAGE(conn) memory;
//     crt_spawn_in(cx, &memory, &join, conn_run, &(conn){ ... });
// The task is built inside it and nothing is allocated. It may be used again
// when crt_task_storage_busy says false: the task has ended, its join handle is
// gone, and so is every waker cloned from it. CRT_EBUSY until then. Here as in every task
// the frame is aligned to 16 bytes: what needs more (a __m256) does not belong into a frame.
enum { CRT__TASK_HEADER = sizeof(void *) > 4 ? 240 : 192 };
#define CRT_TASK_STORAGE(frame_type)                                                       \
    union {                                                                                \
        CRT__ALIGNAS(16) uint64_t crt__align[2];                                           \
        unsigned char crt__bytes[CRT__TASK_HEADER + sizeof(frame_type)];                   \
    }
#define crt_spawn_in(cx, storage, join, fn, ...)                                           \
    crt__spawn_in((cx), (storage), sizeof *(storage), (join), (fn), CRT__FRAME(__VA_ARGS__))
CRTDEF bool crt_task_storage_busy(const void *storage);

// Everything at once. Mirrors task::Builder. Results as of crt_spawn, and CRT_EINVAL for a
// frame without its size.
typedef struct crt_task_desc {
    crt_fn fn;
    const void *frame;        // copied; NULL: a zeroed frame of `size` bytes
    size_t size;              // of the frame; 0 without a frame: that of a crt_frame. Below 2 GiB
    const char *name;         // copied (at most 63 bytes); NULL: none
    crt_join_handle **join;   // NULL: detached
    void *storage;            // NULL: from the runtime
    size_t storage_size;
    crt_handle *handle;       // another runtime's; NULL: the caller's
    bool local;               // as crt_spawn_local; CRT_EINVAL with another runtime's handle
    int priority;             // > 0: before all others; < 0: when nothing else is ready, and
                              // one such task at about each 31st poll, or each
                              // global_queue_interval-th if that is more; not with `local`
} crt_task_desc;
#define crt_spawn_ex(cx, ...) crt__spawn_ex((cx), (__VA_ARGS__), CRT__SPAWN_SITE)
CRTDEF int crt__spawn_ex(crt_cx *cx, const crt_task_desc *desc, const char *site);

CRTDEF int crt__spawn(crt_cx *cx, crt_join_handle **join, crt_fn fn, const void *frame,
                      size_t size, const char *site);
CRTDEF int crt__spawn_local(crt_cx *cx, crt_join_handle **join, crt_fn fn, const void *frame,
                            size_t size, const char *site);
CRTDEF int crt__spawn_in(crt_cx *cx, void *storage, size_t storage_size, crt_join_handle **join,
                         crt_fn fn, const void *frame, size_t size, const char *site);
CRTDEF int crt__handle_spawn(crt_handle *h, crt_join_handle **join, crt_fn fn,
                             const void *frame, size_t size, const char *site);

// A handle may be joined, aborted, detached or asked from any thread; one thread
// at a time.

// Waits for the task and uses up the handle. 0 and *result (which may be NULL), the
// task's own result or error; CRT_ECANCELED; CRT_EPANIC. *join is then NULL, but after
// CRT_EPANIC the handle stays, for crt_join_panic_message, until crt_detach. A handle
// must not be detached while somebody waits through it.
// CRT_EBUSY: another task waits; CRT_EINVAL: no handle, or the task's own.
// Cancel-safe: the handle is kept. Mirrors JoinHandle.
CRTDEF_POLL crt_join(crt_cx *cx, crt_join_handle **join, intptr_t *result);
// The same from a plain thread. CRT_ENESTED inside a task; CRT_ENOCONTEXT in a child of
// fork() whose parent runs the task: the handle is kept. It drives nothing: a current-thread
// runtime that no other thread drives never ends the task (a log line says so).
CRTDEF int crt_join_blocking(crt_join_handle **join, intptr_t *result);
// Asks the task to stop: one unwind at the await where it is parked. A task that
// has ended is left alone; a blocking job stops only if it has not begun.
CRTDEF void crt_abort(crt_join_handle *join);
CRTDEF bool crt_is_finished(const crt_join_handle *join);
// Lets the task run on alone; *join becomes NULL. Accepts NULL.
CRTDEF void crt_detach(crt_join_handle **join);
// Why it panicked, or NULL. Valid until the handle is gone.
CRTDEF const char *crt_join_panic_message(const crt_join_handle *join);
CRTDEF uint64_t crt_join_id(const crt_join_handle *join);

// Aborts a task without the right to join it. Any thread; may outlive the task.
// Mirrors task::AbortHandle.
typedef struct crt_abort_handle crt_abort_handle;
CRTDEF crt_abort_handle *crt_join_abort_handle(const crt_join_handle *join);
CRTDEF crt_abort_handle *crt_abort_handle_clone(crt_abort_handle *a);
CRTDEF void crt_abort_handle_abort(crt_abort_handle *a);   // as crt_abort
CRTDEF bool crt_abort_handle_is_finished(const crt_abort_handle *a);
CRTDEF uint64_t crt_abort_handle_id(const crt_abort_handle *a);
CRTDEF void crt_abort_handle_drop(crt_abort_handle **a);

// Goes to the back of the queue once, after the drivers. Mirrors yield_now.
CRTDEF_POLL crt_yield_now(crt_cx *cx);
// Unique among the tasks of a process that ever lived. Never 0.
CRTDEF uint64_t crt_task_id(const crt_cx *cx);
CRTDEF const char *crt_task_name(const crt_cx *cx);   // NULL: none
// Operations left in this poll before they make the task yield: 128 at first, or what is left to a task
// that the one before has just woken.
CRTDEF uint32_t crt_coop_budget(const crt_cx *cx);
// Takes one unit in a loop that does no operation of its own: 0, or CRT_PENDING
// once the budget is used up. Mirrors coop::consume_budget.
CRTDEF_POLL crt_consume_budget(crt_cx *cx);
// Evaluates a poll without a budget. Mirrors coop::unconstrained.
#define crt_unconstrained(cx, ...)                                                         \
    crt__constrain((cx), (crt__unconstrain(cx), (crt_poll)(__VA_ARGS__)))
CRTDEF void crt__unconstrain(crt_cx *cx);
CRTDEF crt_poll crt__constrain(crt_cx *cx, crt_poll r);

// Runs f(arg) on a thread of the blocking pool. `join` may be NULL. 0,
// CRT_ENOMEM, CRT_ESHUTDOWN (a task of the runtime that shuts down still may), or -errno if no thread at
// all can be started. The result of f is what crt_join gives. crt_abort works until it begins. Mirrors
// task::spawn_blocking.
CRTDEF int crt_spawn_blocking(crt_cx *cx, crt_join_handle **join, intptr_t (*f)(void *),
                              void *arg);
CRTDEF int crt_handle_spawn_blocking(crt_handle *h, crt_join_handle **join,
                                     intptr_t (*f)(void *), void *arg);
// Runs f(arg) on this thread, after another thread has taken over the worker's
// queue, and returns its result. CRT_ENOCONTEXT on the current-thread flavour
// and in a local task, where f is not run; CRT_EINVAL without f. Mirrors task::block_in_place.
CRTDEF intptr_t crt_block_in_place(crt_cx *cx, intptr_t (*f)(void *), void *arg);

// ---------------------------------------------------------------------------
// >>api time      clock, sleep, timer, timeout, interval, delay queue
// ---------------------------------------------------------------------------
// One-millisecond ticks; a timer never fires early. All need CRT_DRIVER_TIME
// (CRT_ENODRIVER). All are cancel-safe.

// The runtime's clock: monotonic, or virtual when paused. Should the system's step back
// all the same, timers are late by as much at most, and none is early.
CRTDEF crt_instant crt_now(const crt_cx *cx);
// Waits d ns, at least; at once if d <= 0. 0. Mirrors time::sleep.
CRTDEF_POLL crt_sleep(crt_cx *cx, crt_duration d);
CRTDEF_POLL crt_sleep_until(crt_cx *cx, crt_instant t);

// A timer that can be set again: crt_timer_reset(cx, &t, d), then await
// crt_timer_wait(cx, &t). A reset reaches a wait that has begun, in another arm of a
// crt_select, say; one task uses a timer. Also what crt_timeout keeps its state in. All-zero
// is ready, and not set. Mirrors a pinned Sleep.
typedef struct crt_timer {
    crt__group group;
    crt_slot slot;
    crt_instant deadline;
    crt_poll result;
    uint32_t phase, set;
    uint32_t panics, reset_in;   // cx->panics before the expression; the poll of a reset whose clock is kept, or
                                 // 0 (in a crt_timeout: whether this poll began with budget)
} crt_timer;
CRTDEF void crt_timer_reset(crt_cx *cx, crt_timer *t, crt_duration d);
CRTDEF void crt_timer_reset_at(crt_cx *cx, crt_timer *t, crt_instant at);
CRTDEF void crt_timer_stop(crt_timer *t);   // as if never set; not while it is awaited
CRTDEF_POLL crt_timer_wait(crt_cx *cx, crt_timer *t);   // 0; CRT_EINVAL if not set, or in a crt_timeout
CRTDEF bool crt_timer_is_elapsed(const crt_cx *cx, const crt_timer *t);

// crt_timeout(cx, &self->timer, CRT_SEC(5), expr): the result of expr, or
// CRT_ETIMEDOUT once d ns have passed; the expression is then cancelled to its
// end first; a variable that it assigns then holds CRT_UNWIND, which tells this time-out from a
// CRT_ETIMEDOUT of the expression's own. Polls expr before the clock. Nests, each with a timer of
// its own (CRT_EINVAL). Mirrors time::timeout.
#define crt_timeout(cx, t, d, ...)                                                         \
    CRT__TIMEOUT(cx, t, crt__timeout_begin((cx), (t), (d), false), __VA_ARGS__)
#define crt_timeout_at(cx, t, at, ...)                                                     \
    CRT__TIMEOUT(cx, t, crt__timeout_begin((cx), (t), (at), true), __VA_ARGS__)
#define CRT__TIMEOUT(cx, t, begin, ...)                                                    \
    ((begin),                                                                              \
     (crt__timeout_enter((cx), (t)) ? crt__timeout_leave((cx), (t), (crt_poll)(__VA_ARGS__)) \
                                    : (void)0),                                            \
     (crt__timeout_enter((cx), (t)) ? crt__timeout_leave((cx), (t), (crt_poll)(__VA_ARGS__)) \
                                    : (void)0),                                            \
     crt__timeout_end((cx), (t)))
CRTDEF void crt__timeout_begin(crt_cx *cx, crt_timer *t, int64_t when, bool absolute);
CRTDEF bool crt__timeout_enter(crt_cx *cx, crt_timer *t);
CRTDEF void crt__timeout_leave(crt_cx *cx, crt_timer *t, crt_poll r);
CRTDEF_POLL crt__timeout_end(crt_cx *cx, crt_timer *t);

// What an interval does when ticks were missed: BURST all of them at once, DELAY
// the next a whole period from now, SKIP to the next multiple of the period. A tick up to 5 ms late
// is in time, as in Tokio: with a shorter period the three are the same.
typedef enum crt_missed { CRT_BURST = 0, CRT_DELAY = 1, CRT_SKIP = 2 } crt_missed;
typedef struct crt_interval {
    crt_duration period;
    crt_instant next;   // when the next tick is due; may be set between two polls (reset_at)
    crt_missed behavior;
    uint32_t started;
} crt_interval;
// The first tick comes at once, and the period counts from it (Tokio's from here). After crt_interval_reset
// the first is one period away: interval_at. Mirrors time::interval.
CRTDEF void crt_interval_init(crt_interval *i, crt_duration period, crt_missed behavior);
// 0 at each tick; CRT_EINVAL if the period is not positive.
CRTDEF_POLL crt_interval_tick(crt_cx *cx, crt_interval *i);
CRTDEF void crt_interval_reset(crt_cx *cx, crt_interval *i);   // next: one period from now, a tick that is awaited too

// Things that become due one after the other, each carrying its place in it: no
// allocation but that of the queue's wheel (3 kB) at the first insertion. All-zero is
// ready and empty. Any thread may insert, remove and reset; one task at a time waits; all of
// it by the clock of one runtime as long as anything is in it. Mirrors tokio_util's DelayQueue.
//     typedef struct session { crt_delay expires; ... } session;
//     crt_delay_insert(cx, &q, &s->expires, CRT_SEC(30));
//     CRT_AWAIT(r = crt_delay_next(cx, &q, &self->due));   // then due is &s->expires
typedef struct crt_delay {
    crt_slot crt__slot;   // all zero: in no queue
    crt_instant deadline;
} crt_delay;
typedef struct crt_delay_queue {
    uint32_t crt__lock;
    struct crt__wheel *crt__wheel;
    crt_slot *crt__due, *crt__due_last;   // have become due
    crt_slot *crt__never;                 // CRT_FOREVER
    crt_slot *crt__waiter;
    size_t crt__len;
    crt_timer crt__timer;
} crt_delay_queue;
// 0; CRT_EBUSY: it is in a queue already; CRT_ENOMEM, CRT_ENODRIVER.
CRTDEF int crt_delay_insert(crt_cx *cx, crt_delay_queue *q, crt_delay *d, crt_duration after);
CRTDEF int crt_delay_insert_at(crt_cx *cx, crt_delay_queue *q, crt_delay *d, crt_instant at);
CRTDEF bool crt_delay_remove(crt_delay_queue *q, crt_delay *d);   // false: it was not in the queue
// Another time for one that is in the queue, also if it is due but not yet taken. 0,
// CRT_EINVAL: it is not in the queue.
CRTDEF int crt_delay_reset(crt_cx *cx, crt_delay_queue *q, crt_delay *d, crt_duration after);
CRTDEF int crt_delay_reset_at(crt_cx *cx, crt_delay_queue *q, crt_delay *d, crt_instant at);
// Waits for the next to become due and takes it out. 0, CRT_EEMPTY if the queue is
// empty, or CRT_EBUSY while another task waits. Cancel-safe.
CRTDEF_POLL crt_delay_next(crt_cx *cx, crt_delay_queue *q, crt_delay **d);
CRTDEF crt_delay *crt_delay_peek(crt_delay_queue *q);   // one of those due first; NULL: empty
CRTDEF size_t crt_delay_len(crt_delay_queue *q);
CRTDEF void crt_delay_queue_clear(crt_delay_queue *q);  // takes all out
CRTDEF void crt_delay_queue_drop(crt_delay_queue *q);   // and frees the wheel; ready again

// The virtual clock, current thread only (CRT_EINVAL elsewhere). While paused,
// time stands still until crt_time_advance, or, when no task is ready and no
// blocking job runs, jumps to the next timer (in crt_block_on; crt_runtime_turn never jumps).
// An advance stops at half of CRT_FOREVER, after 146 years.
// Mirror time::pause, resume, advance.
CRTDEF int crt_time_pause(crt_runtime *rt);
CRTDEF int crt_time_resume(crt_runtime *rt);
CRTDEF int crt_time_advance(crt_runtime *rt, crt_duration d);   // CRT_EINVAL if not paused

// ---------------------------------------------------------------------------
// >>api combine   select, join
// ---------------------------------------------------------------------------
// Frame member: one slot for each arm (with more, the first arm is favoured).
//     CRT_SELECT(3) sel;
//     CRT_AWAIT(w = crt_select(cx, &self->sel,
//         crt_on(cx, 0, self->n = crt_read(cx, self->peer, self->buf, sizeof self->buf)),
//         crt_on(cx, 1, crt_sleep(cx, CRT_SEC(30))),
//         crt_on(cx, 2, crt_cancelled(cx, self->token))));
// An arm that loses is cancelled before the select returns: its leaf is unlinked,
// a child coroutine runs its CRT_FINALLY to the end, awaits included. A variable
// that a losing arm assigns holds CRT_UNWIND afterwards (what it held before, if the
// arm had not been looked at yet), so give each arm its own.

typedef struct crt__arm {
    crt_slot slot;
    uint32_t state, seen;
} crt__arm;
typedef struct crt__select {
    crt__group group;
    struct crt__select *outer;
    crt_slot *outer_slot;
    crt_poll winner;
    uint32_t phase, mode, start, turn, current, serial;
    uint32_t panics, entered;    // cx->panics before the arm; arms met in the first poll
} crt__select;
#define CRT_SELECT(n)                                                                      \
    struct {                                                                               \
        crt__select crt__head;                                                             \
        crt__arm crt__arms[n];                                                             \
    }
enum { CRT__SELECT = 0, CRT__SELECT_BIASED = 1, CRT__JOIN_ALL = 2, CRT__TRY_JOIN = 3 };

// One arm: evaluated with a slot of its own. `i` from 0 to n - 1, each once.
#define crt_on(cx, i, ...)                                                                 \
    (crt__arm_enter((cx), (i), true) ? crt__arm_leave((cx), (crt_poll)(__VA_ARGS__)) : (void)0)
// The condition counts when the select begins, but is evaluated whenever the select is: let it be cheap, and
// let no other arm change what it looks at: which arm is polled first is random.
#define crt_on_if(cx, i, condition, ...)                                                   \
    (crt__arm_enter((cx), (i), (condition)) ? crt__arm_leave((cx), (crt_poll)(__VA_ARGS__)) \
                                            : (void)0)

// The index of the arm that ended first; polls start at a random arm. CRT_EINVAL
// if every arm is disabled, the indices are wrong, no arm is in crt_on, or *s is in use around it. What shall
// outlive a select and go on in the next: spawn it and let the arm crt_join it, or wait for a crt_timer.
// Mirrors select!.
#define crt_select(cx, s, ...) CRT__SELECT3(cx, s, CRT__SELECT, __VA_ARGS__)
// The same, polled in order: who is always ready, or uses the budget up, goes last. Mirrors select! { biased; ... }.
#define crt_select_biased(cx, s, ...) CRT__SELECT3(cx, s, CRT__SELECT_BIASED, __VA_ARGS__)
// 0 when every arm has ended; each poll starts at the next arm. Mirrors join!.
#define crt_join_all(cx, s, ...) CRT__SELECT3(cx, s, CRT__JOIN_ALL, __VA_ARGS__)
// 0 when every arm has ended well; the first negative result cancels the others
// and is returned. What an arm that had ended well has got (a permit, a stream) is yours to give back
// then: its variable is 0 or more if it was CRT_PENDING before. Mirrors try_join!.
#define crt_try_join(cx, s, ...) CRT__SELECT3(cx, s, CRT__TRY_JOIN, __VA_ARGS__)

// Three passes over the same arms: from the random start to the end, then the
// ones before it, then the losers that came before the winner.
#define CRT__SELECT3(cx, s, mode, ...)                                                     \
    (crt__select_begin((cx), &(s)->crt__head, (s)->crt__arms,                              \
                       sizeof(s)->crt__arms / sizeof(s)->crt__arms[0], (mode)),            \
     (__VA_ARGS__), crt__select_turn(cx), (__VA_ARGS__), crt__select_turn(cx), (__VA_ARGS__), \
     crt__select_end(cx))
CRTDEF void crt__select_begin(crt_cx *cx, crt__select *s, crt__arm *arms, size_t n, int mode);
CRTDEF void crt__select_turn(crt_cx *cx);
CRTDEF_POLL crt__select_end(crt_cx *cx);
CRTDEF bool crt__arm_enter(crt_cx *cx, int i, bool condition);
CRTDEF void crt__arm_leave(crt_cx *cx, crt_poll r);

// ---------------------------------------------------------------------------
// >>api groups    scope, join set, join map, tracker, local set, task locals
// ---------------------------------------------------------------------------
// A task belongs to one group at most, and costs 48 bytes more in it. Tasks in a
// group are spawned, aborted and ended like any others.

// What the groups share. The fields are crt's.
typedef struct crt__crew {
    crt__waitq q;        // who waits for its tasks; its lock guards the rest
    struct crt__member *live, *done, *done_last;
    size_t count;        // tasks that have not ended, and tokens
    crt_poll failure;    // of a scope: the first
    uint32_t refs, kind, flags, ready;
} crt__crew;

// --- scope: tasks that cannot outlive the coroutine that opened it. It is a block:
//     CRT_AWAIT(r = crt_scope_run(cx, &self->scope, body_run(&self->body, cx)));
// The body, and the tasks themselves, spawn into it. It ends when the body and every
// task has ended: with the body's result, or the first failure among the tasks
// (a negative result, CRT_EPANIC). If the opener is cancelled, the body and all the
// tasks are, cleanup included, and are waited for. Inside a scope runs another, not the same one.
// All-zero is ready; nothing is allocated but the tasks. What structured concurrency libraries call
// a nursery.
typedef struct crt_scope {
    crt__crew crt__tasks;
    CRT_SELECT(2) crt__sel;
    crt_poll crt__body, crt__result;
    uint32_t crt__phase, crt__try;
} crt_scope;
#define crt_scope_run(cx, s, ...)                                                          \
    ((crt__scope_open((cx), (s)) ? crt__scope_body((cx), (s), (crt_poll)(__VA_ARGS__)) : (void)0), \
     crt__scope_drain((cx), (s)))
// The same, but the first failure, in the body or a task, cancels all the others.
#define crt_scope_try_run(cx, s, ...)                                                      \
    crt_scope_run((cx), (s),                                                               \
                  crt__scope_joined((cx), (s), crt_try_join((cx), &(s)->crt__sel,          \
                      crt_on((cx), 0, (s)->crt__body = (crt_poll)(__VA_ARGS__)),           \
                      crt_on((cx), 1, crt__scope_watch((cx), (s))))))
// As crt_spawn, while the block is open; CRT_ENOCONTEXT before and after, CRT_ECANCELED
// once it is being cancelled.
#define crt_scope_spawn(cx, s, fn, ...)                                                    \
    crt__scope_spawn((cx), (s), (fn), CRT__FRAME(__VA_ARGS__))
CRTDEF void crt_scope_cancel(crt_scope *s);   // aborts the tasks, not the body. Inside the block.
CRTDEF size_t crt_scope_len(crt_scope *s);    // tasks that have not ended
CRTDEF bool crt__scope_open(crt_cx *cx, crt_scope *s);
CRTDEF void crt__scope_body(crt_cx *cx, crt_scope *s, crt_poll r);
CRTDEF crt_poll crt__scope_joined(crt_cx *cx, crt_scope *s, crt_poll r);
CRTDEF crt_poll crt__scope_watch(crt_cx *cx, crt_scope *s);
CRTDEF_POLL crt__scope_drain(crt_cx *cx, crt_scope *s);
CRTDEF int crt__scope_spawn(crt_cx *cx, crt_scope *s, crt_fn fn, const void *frame, size_t size, const char *site);

// --- join set: tasks whose results are taken in the order in which they end. Owned by
// one task (or thread) at a time. All-zero is ready and empty; drop it in CRT_FINALLY.
// Mirrors task::JoinSet.
typedef struct crt_join_set {
    crt__crew *crt__tasks;
    crt_join_handle *crt__panicked;
} crt_join_set;
// As crt_spawn, crt_spawn_blocking. From a plain thread: crt_join_set_spawn_on(handle, ...).
#define crt_join_set_spawn(cx, set, fn, ...)                                               \
    crt__join_set_spawn((cx)->rt, (set), NULL, (fn), CRT__FRAME(__VA_ARGS__))
#define crt_join_set_spawn_on(h, set, fn, ...)                                             \
    crt__join_set_spawn((crt_runtime *)(h), (set), NULL, (fn), CRT__FRAME(__VA_ARGS__))
// *abort: a handle that can abort the task; crt_abort_handle_drop it.
#define crt_join_set_spawn_abort(cx, set, abort, fn, ...)                                  \
    crt__join_set_spawn((cx)->rt, (set), (abort), (fn), CRT__FRAME(__VA_ARGS__))
CRTDEF int crt_join_set_spawn_blocking(crt_cx *cx, crt_join_set *set, intptr_t (*f)(void *), void *arg);
// The next task to end: 0 and *result (the task's own result or error), CRT_ECANCELED,
// CRT_EPANIC; CRT_EEMPTY if there is no task. `id` and `result` may be NULL. Cancel-safe: nothing is taken.
CRTDEF_POLL crt_join_set_next(crt_cx *cx, crt_join_set *set, intptr_t *result);
CRTDEF_POLL crt_join_set_next_with_id(crt_cx *cx, crt_join_set *set, uint64_t *id, intptr_t *result);
CRTDEF int crt_join_set_try_next(crt_join_set *set, uint64_t *id, intptr_t *result);   // also CRT_EAGAIN
// Of the task that CRT_EPANIC was last told of; valid until the next that is told.
CRTDEF const char *crt_join_set_panic_message(const crt_join_set *set);
CRTDEF size_t crt_join_set_len(const crt_join_set *set);     // ended but not taken ones included
CRTDEF void crt_join_set_abort_all(crt_join_set *set);       // they stay, to be taken
CRTDEF void crt_join_set_detach_all(crt_join_set *set);      // they run on alone; the set is empty
// Aborts all, waits for all. 0. What had failed goes to the log, as where nobody joins.
CRTDEF_POLL crt_join_set_shutdown(crt_cx *cx, crt_join_set *set);
CRTDEF void crt_join_set_drop(crt_join_set *set);            // aborts all, does not wait; ready again
CRTDEF int crt__join_set_spawn(crt_runtime *rt, crt_join_set *set, crt_abort_handle **abort, crt_fn fn,
                               const void *frame, size_t size, const char *site);

// --- join map: a join set whose tasks have keys (numbers, or pointers as numbers).
// Spawning under a key that is there aborts the old task and forgets its result.
// All-zero is ready and empty; drop it. Mirrors tokio_util's JoinMap.
typedef struct crt_join_map {
    crt_join_set crt__set;
    struct crt__member **crt__buckets;
    size_t crt__size, crt__len;
} crt_join_map;
#define crt_join_map_spawn(cx, map, key, fn, ...)                                          \
    crt__join_map_spawn((cx), (map), (key), (fn), CRT__FRAME(__VA_ARGS__))
// As crt_join_set_next, with the key.
CRTDEF_POLL crt_join_map_next(crt_cx *cx, crt_join_map *map, uint64_t *key, intptr_t *result);
CRTDEF int crt_join_map_try_next(crt_join_map *map, uint64_t *key, intptr_t *result);   // also CRT_EAGAIN
CRTDEF const char *crt_join_map_panic_message(const crt_join_map *map);
CRTDEF bool crt_join_map_abort(crt_join_map *map, uint64_t key);   // false: no such task
CRTDEF bool crt_join_map_contains(const crt_join_map *map, uint64_t key);
CRTDEF size_t crt_join_map_len(const crt_join_map *map);
CRTDEF void crt_join_map_abort_all(crt_join_map *map);
// Aborts those for which the callback says true. Mirrors abort_matching.
CRTDEF void crt_join_map_abort_matching(crt_join_map *map, bool (*matches)(uint64_t key, void *user), void *user);
CRTDEF_POLL crt_join_map_shutdown(crt_cx *cx, crt_join_map *map);
CRTDEF void crt_join_map_detach_all(crt_join_map *map);
CRTDEF void crt_join_map_drop(crt_join_map *map);
CRTDEF int crt__join_map_spawn(crt_cx *cx, crt_join_map *map, uint64_t key, crt_fn fn, const void *frame, size_t size,
                               const char *site);

// --- tracker: counts tasks, keeps no results, aborts nothing. For a graceful end:
// stop spawning, close, wait. Shared by reference; any thread. Mirrors TaskTracker.
typedef struct crt_task_tracker crt_task_tracker;
CRTDEF crt_task_tracker *crt_task_tracker_new(void);   // NULL: no memory
CRTDEF crt_task_tracker *crt_task_tracker_clone(crt_task_tracker *t);
CRTDEF void crt_task_tracker_drop(crt_task_tracker **t);
#define crt_task_tracker_spawn(cx, t, fn, ...)                                             \
    crt__tracker_spawn((cx)->rt, (t), NULL, (fn), CRT__FRAME(__VA_ARGS__))
#define crt_task_tracker_spawn_join(cx, t, join, fn, ...)                                  \
    crt__tracker_spawn((cx)->rt, (t), (join), (fn), CRT__FRAME(__VA_ARGS__))
// A token for work that is not a task: count it in, and out again.
CRTDEF void crt_task_tracker_enter(crt_task_tracker *t);
CRTDEF void crt_task_tracker_leave(crt_task_tracker *t);
// wait ends only once the tracker is closed; spawning still works then. True: it
// changed something.
CRTDEF bool crt_task_tracker_close(crt_task_tracker *t);
CRTDEF bool crt_task_tracker_reopen(crt_task_tracker *t);
CRTDEF bool crt_task_tracker_is_closed(crt_task_tracker *t);
CRTDEF size_t crt_task_tracker_len(crt_task_tracker *t);
// 0: closed and empty. CRT_EINVAL: it counts this task. Cancel-safe.
CRTDEF_POLL crt_task_tracker_wait(crt_cx *cx, crt_task_tracker *t);
CRTDEF int crt__tracker_spawn(crt_runtime *rt, crt_task_tracker *t, crt_join_handle **join, crt_fn fn,
                              const void *frame, size_t size, const char *site);

// --- local set: tasks that share one thread, on either flavour: they may use what is
// not safe between threads. The first spawn chooses the worker; while none of them lives,
// crt_block_in_place may give that another thread. On the current-thread flavour the thread is the
// one that drives it. All-zero is ready.
// The set must outlive its tasks: await crt_local_set_join. Mirrors task::LocalSet.
typedef struct crt_local_set {
    crt__crew crt__tasks;
    struct crt__worker *crt__worker;
} crt_local_set;
// Spawns a task into the set. As crt_spawn; CRT_EINVAL if the set belongs to
// another runtime. Tasks in the set may crt_spawn_local more.
#define crt_local_set_spawn(cx, set, fn, ...)                                              \
    crt__local_set_spawn((cx), (set), NULL, (fn), CRT__FRAME(__VA_ARGS__))
#define crt_local_set_spawn_join(cx, set, join, fn, ...)                                   \
    crt__local_set_spawn((cx), (set), (join), (fn), CRT__FRAME(__VA_ARGS__))
// 0 when every task has ended. CRT_EINVAL: this task is one of them. Cancel-safe.
CRTDEF_POLL crt_local_set_join(crt_cx *cx, crt_local_set *set);
CRTDEF void crt_local_set_abort_all(crt_local_set *set);
CRTDEF int crt__local_set_spawn(crt_cx *cx, crt_local_set *set, crt_join_handle **join,
                                crt_fn fn, const void *frame, size_t size, const char *site);

// --- task locals: what a coroutine tells all that it calls, without passing it on.
// A key is a static object; its address counts. Not inherited by spawned tasks.
// Mirror task_local!.
//     static crt_task_local user_key = {"user"};
//     CRT_AWAIT(r = crt_with_local(cx, &self->with, &user_key, self->user, serve_run(&self->serve, cx)));
typedef struct crt_task_local {
    const char *name;
} crt_task_local;
typedef struct crt__local {
    struct crt__local *outer;
    const crt_task_local *key;
    void *value;
} crt_local_scope;
#define crt_with_local(cx, s, key, value, ...)                                             \
    (crt__local_enter((cx), (s), (key), (value)), crt__local_leave((cx), (crt_poll)(__VA_ARGS__)))
// The innermost value around this call, or that of the task; NULL: none.
CRTDEF void *crt_task_local_get(const crt_cx *cx, const crt_task_local *key);
// For the rest of the task. drop (or NULL) is called on the value when it is replaced,
// and when the task has ended. 0, CRT_ENOMEM.
CRTDEF int crt_task_local_set(crt_cx *cx, const crt_task_local *key, void *value, void (*drop)(void *value));
CRTDEF void crt__local_enter(crt_cx *cx, crt_local_scope *s, const crt_task_local *key, void *value);
CRTDEF crt_poll crt__local_leave(crt_cx *cx, crt_poll r);

// ---------------------------------------------------------------------------
// >>api sync      notify, semaphore, mutex, rwlock, barrier, once cell, cancel token
// ---------------------------------------------------------------------------
// These work between tasks of any runtimes and plain threads. Waiting allocates
// nothing. First come, first served; who is woken has what it waited for: nobody
// overtakes it. Every wait takes one unit of the task's budget when it ends, and
// can be cut short at any moment: what was granted to a task that is cancelled goes
// to the next one. Calls without a cx work from any thread, in a task or not; those
// named _blocking_ put a plain thread to sleep and give CRT_ENESTED inside a task.
// The object must stay where it is while somebody uses it; who has been granted
// something may be the last. Every _drop, here and
// below, accepts a pointer to NULL and leaves NULL behind.

#define CRT_HAS_SYNC 1

// Wakes tasks without data. One permit is stored when nobody waits. All-zero is
// ready. Mirrors sync::Notify.
typedef struct crt_notify {
    crt__waitq q;
} crt_notify;
// Waits for a notification, or takes the stored one. 0. Cancel-safe, but the place
// in the queue is lost: a notification that was granted already is passed on.
CRTDEF_POLL crt_notified(crt_cx *cx, crt_notify *n);
CRTDEF void crt_notify_one(crt_notify *n);       // the longest waiting, or store a permit
CRTDEF void crt_notify_last(crt_notify *n);      // the newest, or store a permit
CRTDEF void crt_notify_waiters(crt_notify *n);   // those waiting now; stores nothing
// For a condition that notify_waiters announces. Take the snapshot, look at the
// condition, then wait: a notify_waiters that came in between ends the wait at once.
// Mirrors Notified::enable, for notify_waiters alone: of the notify_ones in between one is stored, as
// always, not one for each who took a snapshot. What several consumers take is a crt_semaphore's business.
CRTDEF uint32_t crt_notify_snapshot(crt_notify *n);
CRTDEF_POLL crt_notified_since(crt_cx *cx, crt_notify *n, uint32_t snapshot);
CRTDEF int crt_notified_blocking(crt_notify *n);

// Permits that are taken and given back, with a queue; inside the next two.
typedef struct crt__permits {
    crt__waitq q;
    size_t word;   // atomic: see >>sync
} crt__permits;

// Counting semaphore, strictly first come first served: a large request at the
// head collects permits as they come and is not overtaken. All-zero: no permits.
// Mirrors sync::Semaphore; who wants acquire_owned keeps a pointer.
typedef struct crt_semaphore {
    crt__permits p;
} crt_semaphore;
#define CRT_MAX_PERMITS (SIZE_MAX >> 3)
CRTDEF void crt_semaphore_init(crt_semaphore *s, size_t permits);   // at most CRT_MAX_PERMITS
// Takes n permits (0: at once). 0; CRT_ECLOSED; CRT_EINVAL if n is over 2^32 - 1 or CRT_MAX_PERMITS.
// Cancel-safe: what it had collected goes on to the next, its place is lost.
CRTDEF_POLL crt_semaphore_acquire(crt_cx *cx, crt_semaphore *s, size_t n);
CRTDEF int crt_semaphore_try_acquire(crt_semaphore *s, size_t n);   // 0, CRT_EAGAIN, CRT_ECLOSED
CRTDEF int crt_semaphore_blocking_acquire(crt_semaphore *s, size_t n);
#define crt_semaphore_acquire_many crt_semaphore_acquire           // by Tokio's names
#define crt_semaphore_try_acquire_many crt_semaphore_try_acquire
// Gives n permits back, or adds them. At most CRT_MAX_PERMITS in all (asserted).
CRTDEF void crt_semaphore_release(crt_semaphore *s, size_t n);
// Takes up to n free permits away for good: how many. Mirrors forget_permits.
CRTDEF size_t crt_semaphore_forget(crt_semaphore *s, size_t n);
CRTDEF void crt_semaphore_close(crt_semaphore *s);   // waiters and later ones: CRT_ECLOSED
CRTDEF bool crt_semaphore_is_closed(const crt_semaphore *s);
CRTDEF size_t crt_semaphore_available(const crt_semaphore *s);

// A lock that may be held over an await. All-zero is ready. Handed on in order of
// arrival, never snatched. No poisoning: a task that panics unlocks in CRT_FINALLY.
// Mirrors sync::Mutex.
typedef struct crt_mutex {
    crt__waitq q;
} crt_mutex;
CRTDEF_POLL crt_mutex_lock(crt_cx *cx, crt_mutex *m);       // 0. Cancel-safe; the place is lost.
CRTDEF int crt_mutex_try_lock(crt_mutex *m);                // 0, CRT_EBUSY
CRTDEF int crt_mutex_blocking_lock(crt_mutex *m);           // 0, CRT_ENESTED
CRTDEF void crt_mutex_unlock(crt_mutex *m);                 // any task, any thread

// A lock for many readers or one writer, held over awaits if need be. A waiting
// writer is not overtaken by new readers. All-zero is ready. Mirrors sync::RwLock.
typedef struct crt_rwlock {
    crt__permits p;
} crt_rwlock;
CRTDEF_POLL crt_rwlock_read(crt_cx *cx, crt_rwlock *l);        // 0. Cancel-safe; the place is lost.
CRTDEF_POLL crt_rwlock_write(crt_cx *cx, crt_rwlock *l);       // 0. Cancel-safe; the place is lost.
CRTDEF int crt_rwlock_try_read(crt_rwlock *l);                 // 0, CRT_EBUSY
CRTDEF int crt_rwlock_try_write(crt_rwlock *l);
CRTDEF int crt_rwlock_blocking_read(crt_rwlock *l);            // 0, CRT_ENESTED
CRTDEF int crt_rwlock_blocking_write(crt_rwlock *l);
CRTDEF void crt_rwlock_unlock_read(crt_rwlock *l);             // any task, any thread
CRTDEF void crt_rwlock_unlock_write(crt_rwlock *l);
// The writer becomes a reader; no other writer comes in between, readers may join.
CRTDEF void crt_rwlock_downgrade(crt_rwlock *l);

// Waits until n tasks wait, then lets all of them go; ready for the next n at once.
// Mirrors sync::Barrier.
typedef struct crt_barrier {
    crt__waitq q;
    uint32_t n, arrived;
} crt_barrier;
CRTDEF void crt_barrier_init(crt_barrier *b, size_t n);   // 0 counts as 1
// 1 for exactly one of them, the leader (the last to come), 0 for the rest.
// Who is cancelled while it waits is not counted (in Tokio it is).
CRTDEF_POLL crt_barrier_wait(crt_cx *cx, crt_barrier *b);

// Something that is made once, by whoever comes first; the others wait. The value
// is yours: any variable that the expression fills in. All-zero is ready.
//     CRT_AWAIT(r = crt_once_cell_init(cx, &pool.once, connect_run(&self->connect, cx)));
// 0 once it is set; whoever gets 0 sees what the expression wrote. If it gives an error, panics or is cancelled, the
// longest waiting task tries in its turn; the error goes to the one who tried. CRT_EINVAL if the
// expression awaits the same crt_once_cell_init; in a crt_select of its own that waits for ever.
// Mirrors sync::OnceCell, and SetOnce with crt_once_cell_wait.
typedef struct crt_once_cell {
    crt__waitq q;
    crt__group crt__listed;   // in the task that makes the value
    crt_slot crt__making;
    crt_slot *crt__maker;     // atomic: the slot of its await
} crt_once_cell;
#define crt_once_cell_init(cx, c, ...)                                                     \
    (crt__once_enter((cx), (c)) ? crt__once_leave((cx), (c), (crt_poll)(__VA_ARGS__))      \
                                : (cx)->scratch)
CRTDEF_POLL crt_once_cell_wait(crt_cx *cx, crt_once_cell *c);   // 0 once it is set. Cancel-safe.
CRTDEF bool crt_once_cell_is_set(const crt_once_cell *c);
CRTDEF bool crt__once_enter(crt_cx *cx, crt_once_cell *c);
CRTDEF crt_poll crt__once_leave(crt_cx *cx, crt_once_cell *c, crt_poll r);

// A flag that is raised once and can be waited for, in a tree: cancelling a token
// cancels its children, not its parent. Mirrors tokio_util's CancellationToken.
typedef struct crt_cancel_token crt_cancel_token;
CRTDEF crt_cancel_token *crt_cancel_token_new(void);                        // NULL: no memory
CRTDEF crt_cancel_token *crt_cancel_token_clone(crt_cancel_token *t);       // the same token
CRTDEF crt_cancel_token *crt_cancel_token_child(crt_cancel_token *t);       // NULL: no memory
CRTDEF void crt_cancel_token_drop(crt_cancel_token **t);                    // does not cancel
CRTDEF void crt_cancel_token_cancel(crt_cancel_token *t);                   // any thread
CRTDEF bool crt_cancel_token_is_cancelled(const crt_cancel_token *t);
CRTDEF_POLL crt_cancelled(crt_cx *cx, crt_cancel_token *t);                 // 0. Cancel-safe.
// For CRT_FINALLY: cancels the token and drops it. To disarm, crt_cancel_token_drop
// it before. Mirrors DropGuard.
CRTDEF void crt_cancel_token_drop_guard(crt_cancel_token **t);
// The result of expr, or CRT_ECANCELED once the token is cancelled; the expression
// is then cancelled to its end first. The token is looked at first. `u` is a
// crt_until in the frame. Mirrors run_until_cancelled.
//     CRT_AWAIT(self->n = crt_run_until_cancelled(cx, &self->until, self->token,
//                                                 serve_run(&self->serve, cx)));
typedef struct crt_until {
    CRT_SELECT(2) sel;
    crt_poll result, crt__token;
} crt_until;
#define crt_run_until_cancelled(cx, u, token, ...)                                         \
    crt__until_end((u), crt_select_biased((cx), &(u)->sel,                                 \
        crt_on((cx), 0, (u)->crt__token = crt_cancelled((cx), (token))),                   \
        crt_on((cx), 1, (u)->result = (crt_poll)(__VA_ARGS__))))
CRTDEF_POLL crt__until_end(crt_until *u, crt_poll which);

// ---------------------------------------------------------------------------
// >>api channels  oneshot, mpsc, broadcast, watch
// ---------------------------------------------------------------------------
// Reference-counted; elements are elem_size bytes (0 is allowed, 1 MiB at most),
// copied in and out. They work between runtimes and plain threads. Sides are cloned,
// dropped and asked from any thread; a tx may be used by several tasks at once, an rx
// by one at a time; a handle stays while somebody waits through it. A send that fails
// leaves the element with the caller. Elements that nobody receives are released by the
// drop callback, if one was set; it runs once for each, and must not use the channel
// that calls it. Received into NULL, an element is dropped, and so is a copy: it is not cloned.
// Calls that send, receive or close accept a NULL handle: CRT_EINVAL.

#define CRT_HAS_CHANNELS 1
#define CRT_HAS_MPSC 1

// One value of elem_size bytes, once. Mirrors sync::oneshot.
typedef struct crt_oneshot_tx crt_oneshot_tx;
typedef struct crt_oneshot_rx crt_oneshot_rx;
CRTDEF int crt_oneshot_new(size_t elem_size, crt_oneshot_tx **tx, crt_oneshot_rx **rx);   // 0, CRT_ENOMEM, CRT_EINVAL
// Sends and uses up the sender: 0, or CRT_ECLOSED if the receiver is gone or closed.
CRTDEF int crt_oneshot_send(crt_oneshot_tx **tx, const void *elem);
// 0 and the value, or CRT_ECLOSED if the sender went without sending, or the
// receiver was closed before; *rx is then NULL. Cancel-safe: the receiver is kept.
CRTDEF_POLL crt_oneshot_recv(crt_cx *cx, crt_oneshot_rx **rx, void *elem);
CRTDEF int crt_oneshot_try_recv(crt_oneshot_rx **rx, void *elem);        // also CRT_EEMPTY; *rx is then kept
CRTDEF int crt_oneshot_blocking_recv(crt_oneshot_rx **rx, void *elem);   // also CRT_ENESTED
// No value any more, but one that was sent already can be received.
CRTDEF void crt_oneshot_rx_close(crt_oneshot_rx *rx);
// For the sender: waits until the receiver is gone or closed. 0. Cancel-safe.
// CRT_EBUSY if another task waits for it already.
CRTDEF_POLL crt_oneshot_closed(crt_cx *cx, crt_oneshot_tx *tx);
CRTDEF bool crt_oneshot_is_closed(const crt_oneshot_tx *tx);
CRTDEF void crt_oneshot_tx_drop(crt_oneshot_tx **tx);
CRTDEF void crt_oneshot_rx_drop(crt_oneshot_rx **rx);
// For a value that was sent and not received. Set it before the send.
CRTDEF void crt_oneshot_on_drop(crt_oneshot_rx *rx, void (*drop)(void *elem, void *user), void *user);

// Many senders, one receiver, in order. Mirrors sync::mpsc.
typedef struct crt_mpsc_tx crt_mpsc_tx;
typedef struct crt_mpsc_rx crt_mpsc_rx;
typedef struct crt_mpsc_weak_tx crt_mpsc_weak_tx;
// capacity 0: unbounded. 0, CRT_ENOMEM, CRT_EINVAL (elem_size over 1 MiB).
CRTDEF int crt_mpsc_new(size_t elem_size, size_t capacity, crt_mpsc_tx **tx, crt_mpsc_rx **rx);
// Waits for room, in order of arrival, and sends. 0, CRT_ECLOSED when the receiver
// is gone or closed, CRT_ENOMEM. Cancelled: the element is not sent. With a limit in
// time: crt_timeout(cx, &t, d, crt_mpsc_send(...)). Mirrors Sender::send.
CRTDEF_POLL crt_mpsc_send(crt_cx *cx, crt_mpsc_tx *tx, const void *elem);
CRTDEF int crt_mpsc_try_send(crt_mpsc_tx *tx, const void *elem);   // 0, CRT_EFULL, CRT_ECLOSED, CRT_ENOMEM
// Waits for room and keeps it for crt_mpsc_send_reserved, or gives it back with
// crt_mpsc_unreserve. 0, CRT_ECLOSED. Cancel-safe (the place in the queue is lost).
// A permit taken before the receiver closed still works. It is the channel's, not the handle's: to drop
// the tx does not give it back. A CRT_FINALLY that may come between reserve and send has to unreserve, or
// the room is lost to everybody, and recv does not end after a close. Mirrors Sender::reserve.
CRTDEF_POLL crt_mpsc_reserve(crt_cx *cx, crt_mpsc_tx *tx);
CRTDEF int crt_mpsc_try_reserve(crt_mpsc_tx *tx);   // 0, CRT_EFULL, CRT_ECLOSED
// n permits at once, each to be used or given back; CRT_EINVAL if n is more than the
// capacity (or 2^32 - 1). Mirrors reserve_many.
CRTDEF_POLL crt_mpsc_reserve_many(crt_cx *cx, crt_mpsc_tx *tx, size_t n);
CRTDEF int crt_mpsc_try_reserve_many(crt_mpsc_tx *tx, size_t n);
// 0; CRT_ENOMEM: the permit is gone; CRT_EINVAL: there was none.
CRTDEF int crt_mpsc_send_reserved(crt_mpsc_tx *tx, const void *elem);
CRTDEF void crt_mpsc_unreserve(crt_mpsc_tx *tx);   // one of them; that there is one is asserted
// The next element: 0, or CRT_ECLOSED once it is closed (every tx dropped, or
// crt_mpsc_rx_close) and drained. CRT_EBUSY: another task waits there. Cancel-safe.
CRTDEF_POLL crt_mpsc_recv(crt_cx *cx, crt_mpsc_rx *rx, void *elem);
CRTDEF int crt_mpsc_try_recv(crt_mpsc_rx *rx, void *elem);   // 0, CRT_EEMPTY, CRT_ECLOSED
// Waits for one, then takes what is there, at most max. How many; CRT_ECLOSED.
// Cancel-safe. max is not kept from poll to poll: not the variable that the result goes to.
CRTDEF_POLL crt_mpsc_recv_many(crt_cx *cx, crt_mpsc_rx *rx, void *elems, size_t max);
// From plain threads. CRT_ENESTED inside a task.
CRTDEF int crt_mpsc_blocking_send(crt_mpsc_tx *tx, const void *elem);
CRTDEF int crt_mpsc_blocking_recv(crt_mpsc_rx *rx, void *elem);
CRTDEF int crt_mpsc_blocking_recv_many(crt_mpsc_rx *rx, void *elems, size_t max);
CRTDEF crt_mpsc_tx *crt_mpsc_tx_clone(crt_mpsc_tx *tx);
CRTDEF void crt_mpsc_tx_drop(crt_mpsc_tx **tx);
CRTDEF void crt_mpsc_rx_close(crt_mpsc_rx *rx);   // no more sends; what is there stays
#define crt_mpsc_close crt_mpsc_rx_close
CRTDEF void crt_mpsc_rx_drop(crt_mpsc_rx **rx);
// For the sender: waits until the receiver is gone or closed. 0. Cancel-safe.
CRTDEF_POLL crt_mpsc_closed(crt_cx *cx, crt_mpsc_tx *tx);
CRTDEF bool crt_mpsc_is_closed(const crt_mpsc_tx *tx);
CRTDEF bool crt_mpsc_rx_is_closed(const crt_mpsc_rx *rx);   // or every tx is gone; there may still be elements
// Elements that wait to be received; room that a sender could take at once
// (SIZE_MAX: unbounded); what crt_mpsc_new was given (the same); tx handles; weak ones.
CRTDEF size_t crt_mpsc_len(const crt_mpsc_rx *rx);
CRTDEF size_t crt_mpsc_capacity(crt_mpsc_tx *tx);
CRTDEF size_t crt_mpsc_max_capacity(const crt_mpsc_tx *tx);
CRTDEF size_t crt_mpsc_sender_count(const crt_mpsc_rx *rx);
CRTDEF size_t crt_mpsc_weak_count(const crt_mpsc_rx *rx);
CRTDEF bool crt_mpsc_same_channel(const crt_mpsc_tx *a, const crt_mpsc_tx *b);
// A sender that does not keep the channel open. upgrade gives a new tx, or NULL once
// every tx is gone. Mirrors WeakSender.
CRTDEF crt_mpsc_weak_tx *crt_mpsc_tx_downgrade(crt_mpsc_tx *tx);
CRTDEF crt_mpsc_tx *crt_mpsc_weak_tx_upgrade(crt_mpsc_weak_tx *w);
CRTDEF crt_mpsc_weak_tx *crt_mpsc_weak_tx_clone(crt_mpsc_weak_tx *w);
CRTDEF void crt_mpsc_weak_tx_drop(crt_mpsc_weak_tx **w);
// Called for each element that nobody received. Set it before the first send.
CRTDEF void crt_mpsc_on_drop(crt_mpsc_rx *rx, void (*drop)(void *elem, void *user), void *user);

// What a channel that hands one value to many does with it, beside copying bytes:
// clone is called on each copy that is handed out (to count a reference, say), drop
// on the value in the channel once it is replaced or was seen by all. Both under the
// channel's lock: be short, and do not use the channel.
typedef struct crt_elem_ops {
    void (*clone)(void *copy, void *user);
    void (*drop)(void *elem, void *user);
    void *user;
} crt_elem_ops;

// Every receiver sees every value. A ring of capacity values (rounded up to a
// power of two); who falls behind loses the oldest. Mirrors sync::broadcast.
typedef struct crt_broadcast_tx crt_broadcast_tx;
typedef struct crt_broadcast_rx crt_broadcast_rx;
typedef struct crt_broadcast_weak_tx crt_broadcast_weak_tx;
CRTDEF int crt_broadcast_new(size_t elem_size, size_t capacity, crt_broadcast_tx **tx);   // 0, CRT_ENOMEM, CRT_EINVAL
// A receiver of the values sent from now on. 0, CRT_ENOMEM. resubscribe: from a
// receiver, also after the last tx has gone.
CRTDEF int crt_broadcast_subscribe(crt_broadcast_tx *tx, crt_broadcast_rx **rx);
CRTDEF int crt_broadcast_resubscribe(const crt_broadcast_rx *of, crt_broadcast_rx **rx);
CRTDEF int crt_broadcast_send(crt_broadcast_tx *tx, const void *elem);   // receivers, or CRT_ECLOSED: none
// 0; CRT_ELAGGED and *lagged = how many were lost, the next call gives the oldest
// kept; CRT_ECLOSED once every tx is gone and all was seen. Cancel-safe.
CRTDEF_POLL crt_broadcast_recv(crt_cx *cx, crt_broadcast_rx *rx, void *elem, uint64_t *lagged);
CRTDEF int crt_broadcast_try_recv(crt_broadcast_rx *rx, void *elem, uint64_t *lagged);   // also CRT_EEMPTY
CRTDEF int crt_broadcast_blocking_recv(crt_broadcast_rx *rx, void *elem, uint64_t *lagged);
// For the sender: waits until no receiver is left. 0. Cancel-safe.
CRTDEF_POLL crt_broadcast_closed(crt_cx *cx, crt_broadcast_tx *tx);
CRTDEF size_t crt_broadcast_receiver_count(const crt_broadcast_tx *tx);
CRTDEF size_t crt_broadcast_sender_count(const crt_broadcast_tx *tx);
CRTDEF size_t crt_broadcast_len(const crt_broadcast_tx *tx);      // values that some receiver has yet to see
CRTDEF size_t crt_broadcast_rx_len(const crt_broadcast_rx *rx);   // that this one has yet to see, lost ones included
CRTDEF bool crt_broadcast_same_channel(const crt_broadcast_tx *a, const crt_broadcast_tx *b);
CRTDEF crt_broadcast_tx *crt_broadcast_tx_clone(crt_broadcast_tx *tx);
CRTDEF void crt_broadcast_tx_drop(crt_broadcast_tx **tx);
CRTDEF void crt_broadcast_rx_drop(crt_broadcast_rx **rx);
CRTDEF crt_broadcast_weak_tx *crt_broadcast_tx_downgrade(crt_broadcast_tx *tx);
CRTDEF crt_broadcast_tx *crt_broadcast_weak_tx_upgrade(crt_broadcast_weak_tx *w);   // NULL: every tx is gone
CRTDEF void crt_broadcast_weak_tx_drop(crt_broadcast_weak_tx **w);
CRTDEF void crt_broadcast_set_ops(crt_broadcast_tx *tx, const crt_elem_ops *ops);   // before the first send

// The latest value and a version. Mirrors sync::watch; values are copied out, so
// no reader can hold the lock.
typedef struct crt_watch_tx crt_watch_tx;
typedef struct crt_watch_rx crt_watch_rx;
// `first` counts as seen by the first receiver. 0, CRT_ENOMEM, CRT_EINVAL.
CRTDEF int crt_watch_new(size_t elem_size, const void *first, crt_watch_tx **tx, crt_watch_rx **rx);
// 0, CRT_ENOMEM.
CRTDEF int crt_watch_subscribe(crt_watch_tx *tx, crt_watch_rx **rx);   // has seen the present value
CRTDEF int crt_watch_rx_clone(const crt_watch_rx *of, crt_watch_rx **rx);   // has seen what `of` has
CRTDEF int crt_watch_send(crt_watch_tx *tx, const void *elem);         // 0, or CRT_ECLOSED: no receiver
// Stores also without receivers; the value before goes to `old`, or is dropped if NULL. 0, CRT_EINVAL.
CRTDEF int crt_watch_send_replace(crt_watch_tx *tx, const void *elem, void *old);
// Changes the value in place, under the lock: the callback is short, and must not use the
// channel, which would wait for itself. 0, CRT_EINVAL. send_if_modified tells the receivers only if
// the callback returns true, which it passes on; false if there is nothing to call or change.
CRTDEF int crt_watch_send_modify(crt_watch_tx *tx, void (*modify)(void *elem, void *user), void *user);
CRTDEF bool crt_watch_send_if_modified(crt_watch_tx *tx, bool (*modify)(void *elem, void *user), void *user);
// Waits for a value newer than the last that was marked seen, and marks it: 0, or
// CRT_ECLOSED once every tx is gone. Cancel-safe.
CRTDEF_POLL crt_watch_changed(crt_cx *cx, crt_watch_rx *rx);
// Waits until the value fulfils the condition (also the present one), copies it out
// and marks it seen. 0, CRT_ECLOSED. The condition is called under the lock, as modify is.
CRTDEF_POLL crt_watch_wait_for(crt_cx *cx, crt_watch_rx *rx, bool (*condition)(const void *elem, void *user),
                               void *user, void *elem);
// After changed(), get_update: else a value that came in between is told once more.
CRTDEF void crt_watch_get(crt_watch_rx *rx, void *elem);          // the latest; does not mark it seen
CRTDEF void crt_watch_get_update(crt_watch_rx *rx, void *elem);   // the same, and marks it. borrow_and_update
CRTDEF void crt_watch_tx_get(crt_watch_tx *tx, void *elem);
CRTDEF bool crt_watch_has_changed(const crt_watch_rx *rx);
CRTDEF void crt_watch_mark_changed(crt_watch_rx *rx);
CRTDEF void crt_watch_mark_unchanged(crt_watch_rx *rx);
CRTDEF_POLL crt_watch_closed(crt_cx *cx, crt_watch_tx *tx);   // waits until no receiver is left. 0
CRTDEF size_t crt_watch_receiver_count(const crt_watch_tx *tx);
CRTDEF size_t crt_watch_sender_count(const crt_watch_tx *tx);
CRTDEF bool crt_watch_rx_is_closed(const crt_watch_rx *rx);       // every tx is gone
CRTDEF bool crt_watch_same_channel(const crt_watch_rx *a, const crt_watch_rx *b);
CRTDEF crt_watch_tx *crt_watch_tx_clone(crt_watch_tx *tx);
CRTDEF void crt_watch_tx_drop(crt_watch_tx **tx);
CRTDEF void crt_watch_rx_drop(crt_watch_rx **rx);
CRTDEF void crt_watch_set_ops(crt_watch_tx *tx, const crt_elem_ops *ops);   // of the first value too

// ---------------------------------------------------------------------------
// >>api net       addresses, TCP, any descriptor
// ---------------------------------------------------------------------------
// All need CRT_DRIVER_IO (CRT_ENODRIVER). Descriptors are non-blocking and
// close-on-exec; no call raises SIGPIPE. Errors of the system come as -errno. No
// descriptor that crt makes, here, for files or for children, is 0, 1 or 2, also in a program
// started without those: nothing printed or logged gets into it. No other left: -EMFILE.
// crt_close(&x), crt_local_addr(x, &a) and crt_peer_addr(x, &a) take streams, listeners
// and crt_udp alike (they are defined at the end of the declarations).
// A stream belongs to the runtime of the cx that made it. Tasks of other runtimes may use
// it too (to accept, theirs needs CRT_DRIVER_IO: what comes is theirs); once its runtime has
// ended, who waits and who comes gets CRT_ESHUTDOWN. Closed while they wait: CRT_ECLOSED. One task
// may read while another writes: give each a handle of its own (crt_stream_clone).

// A socket address in the system's own form.
typedef struct crt_addr {
    uint32_t len;
    uint32_t reserved;
    union {
        uint64_t align;
        unsigned char bytes[128];
    } u;
} crt_addr;
// "127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80" (or %2: a scope by name or number),
// "*:80" (any IPv4 address; "[::]:80" takes IPv6 too): 0, or CRT_EINVAL for anything that is not a numeric address
// and a port from 0 to 65535; *a is then all zero.
CRTDEF int crt_addr_parse(const char *text, crt_addr *a);
// A path, or '@' and an abstract name: 0, or CRT_EINVAL (empty, over 107 bytes; 103 on the BSDs and macOS).
CRTDEF int crt_addr_unix(const char *path, crt_addr *a);
// The same text back (a scope as number; a Unix socket without a name: "unnamed"; a
// NUL in an abstract name as '@'); its length, or CRT_EINVAL if n is too small. A peer chooses
// the bytes of a Unix name: newlines, too, which a log may not want.
CRTDEF int crt_addr_format(const crt_addr *a, char *buf, size_t n);
CRTDEF int crt_addr_port(const crt_addr *a);       // 0 if it has none
CRTDEF bool crt_addr_is_ipv6(const crt_addr *a);
CRTDEF bool crt_addr_is_unix(const crt_addr *a);
CRTDEF bool crt_addr_equal(const crt_addr *a, const crt_addr *b);   // scope and port too
// To and from a struct sockaddr of foreign code, without its headers. 0, or
// CRT_EINVAL (NULL, longer than a crt_addr, shorter than its family needs).
CRTDEF int crt_addr_from_sockaddr(crt_addr *a, const void *sockaddr, size_t len);
CRTDEF const void *crt_addr_sockaddr(const crt_addr *a, size_t *len);   // valid as long as *a

// SO_KEEPALIVE and its times in seconds; 0: what the system has (two hours, say).
typedef struct crt_keepalive {
    bool on;
    int idle, interval, count;   // before the first probe; between two; how many
} crt_keepalive;

// Zero: the default in the comment. Below zero or out of range: CRT_EINVAL. Unix
// sockets heed backlog, the buffers, unlink_stale and mode.
typedef struct crt_listen_desc {
    int backlog;          // 1024
    bool no_reuseaddr;    // SO_REUSEADDR is set
    bool reuseport;       // false; several listeners, also of several processes, share a port
    bool v6only;          // false
    bool no_nodelay;      // accepted streams get TCP_NODELAY
    bool unlink_stale;    // false; Unix: remove a socket file that nobody listens on any more (the BSDs
                          // and macOS say so of a server with a full backlog, too)
    unsigned mode;        // Unix: permissions of the file, 0777 less the umask
    int send_buffer;      // the system's; bytes. This and what follows is inherited by
    int recv_buffer;      //   accepted streams
    int ttl;              // the system's; 1 to 255, IPv6: hop limit
    int tos;              // 0; to 255, IPv6: traffic class
} crt_listen_desc;
// Listens on "host:port"; port 0: any free one (crt_local_addr tells). Of a name, which is
// looked up as by crt_resolve, the first address that can be had; a numeric address does not
// wait. 0 and *l, CRT_EINVAL, CRT_ENOTFOUND, -errno. Cancel-safe. Mirrors TcpListener::bind.
CRTDEF_POLL crt_tcp_listen(crt_cx *cx, const char *addr, const crt_listen_desc *desc, crt_listener **l);
// Waits for a connection; `peer` may be NULL. 0 and *s, CRT_ENOMEM, or -errno. Out of
// descriptors: waits (10 ms, doubling to 1 s, a log line each second) instead of
// failing over and over. Cancel-safe. Mirrors TcpListener::accept.
//     At most n connections at a time (further ones wait in the backlog): take a
//     permit of a crt_semaphore before each accept, give it back when one ends.
//         CRT_AWAIT(self->r = crt_semaphore_acquire(cx, &limit, 1));
//         CRT_AWAIT(self->r = crt_accept(cx, self->l, &self->s, NULL));
//         if (self->r < 0 || crt_spawn(cx, conn_run, &(conn){ .s = self->s }) < 0) {
//             crt_close(&self->s);
//             crt_semaphore_release(&limit, 1);
//         }
//     conn_run's CRT_FINALLY has crt_close(&self->s); crt_semaphore_release(&limit, 1);
//     and the acceptor's gives back the permit that it holds, if it holds one.
CRTDEF_POLL crt_accept(crt_cx *cx, crt_listener *l, crt_stream **s, crt_addr *peer);
// At once: 0 and *s, CRT_EAGAIN, -errno (out of descriptors too). Any thread.
CRTDEF int crt_try_accept(crt_listener *l, crt_stream **s, crt_addr *peer);

// Zero: the default in the comment.
typedef struct crt_connect_desc {
    const char *local;              // NULL; numeric "host:port" to bind first, port 0: any.
                                    // Only addresses of its family are tried then
    bool no_nodelay;                // TCP_NODELAY is set
    bool reuseaddr, reuseport;      // false
    bool linger_on;                 // false; SO_LINGER with `linger` seconds,
    int linger;                     //   0: close resets the connection
    crt_keepalive keepalive;        // off
    int send_buffer, recv_buffer;   // the system's; bytes
    int ttl, tos;                   // the system's; 0
    crt_duration attempt_delay;     // CRT_MS(250); at least 10 ms. CRT_FOREVER: one at a time
    crt_duration attempt_timeout;   // the system's (minutes); of each address
} crt_connect_desc;
// Connects to "host:port". A name is looked up as by crt_resolve; its addresses are
// tried in an order that alternates between IPv6 and IPv4, the next when one has
// failed or has not answered for attempt_delay, and the first to connect wins (RFC
// 8305; without CRT_DRIVER_TIME one after the other). 0 and *s, or -errno (of the
// attempt that failed last), CRT_EINVAL, CRT_ENOTFOUND, CRT_ENOMEM. Cancelled:
// nothing is left open. Mirrors TcpStream::connect, TcpSocket.
CRTDEF_POLL crt_tcp_connect(crt_cx *cx, const char *addr, crt_stream **s);
// `desc` may be NULL; it is read at the first poll. Also -EAFNOSUPPORT if `local` is
// of another family than every address; CRT_ENODRIVER for attempt_timeout without
// CRT_DRIVER_TIME.
CRTDEF_POLL crt_tcp_connect_ex(crt_cx *cx, const char *addr, const crt_connect_desc *desc,
                               crt_stream **s);
// A Unix socket; a path that begins with '@' is an abstract name (Linux). 0, or
// CRT_EINVAL (too long, empty), -errno. The file is left behind on close; a file that
// is there already is -EADDRINUSE, unless desc->unlink_stale finds nobody behind it. (Two processes
// that find so at the same moment may both be told 0, and one of them is not reached then.)
CRTDEF_POLL crt_unix_listen(crt_cx *cx, const char *path, const crt_listen_desc *desc, crt_listener **l);
// 0 and *s, or as above, -ENOENT, -ECONNREFUSED. A full backlog: waits, looking again
// each 2 ms (without CRT_DRIVER_TIME: CRT_EAGAIN). Cancelled: nothing is left open.
CRTDEF_POLL crt_unix_connect(crt_cx *cx, const char *path, crt_stream **s);
// Who connected, listened or made the pair at the other end, as it was then.
typedef struct crt_peer_cred {
    int64_t pid;   // -1: the system does not tell
    uint32_t uid, gid;
} crt_peer_cred;
// 0, CRT_EINVAL, -errno. A socket that is no Unix socket: -EOPNOTSUPP.
CRTDEF int crt_unix_peer_cred(const crt_stream *s, crt_peer_cred *cred);
// Looks "host:port" up on the blocking pool, numeric addresses at once. How many
// were written to out (at most max), CRT_EINVAL, CRT_ENOTFOUND (also if nobody answered),
// -errno. At most crt_config.max_lookups run at a time, so that a dead name server cannot hold all
// threads of the pool; others wait their turn. Cancel-safe: a lookup that waits
// leaves the queue, one that runs ends unheard. Mirrors lookup_host.
CRTDEF_POLL crt_resolve(crt_cx *cx, const char *host_port, crt_addr *out, size_t max);
// Two connected streams (a Unix socket pair). 0 or -errno.
CRTDEF int crt_stream_pair(crt_cx *cx, crt_stream **a, crt_stream **b);
// A pipe: what is written to tx is read from rx. 0 or -errno. Mirrors unix::pipe.
CRTDEF int crt_pipe(crt_cx *cx, crt_stream **rx, crt_stream **tx);

// CRT_FD_OWN: the descriptor is crt's from now on. CRT_FD_DUP: a duplicate is, and
// the caller keeps his. Either way it becomes non-blocking, and with it every
// duplicate of it, also one that another process holds (a shell's terminal, say).
enum { CRT_FD_OWN = 0, CRT_FD_DUP = 1 };
// A stream from a foreign descriptor: socket (stream or seqpacket), pipe, fifo,
// terminal, or whatever else can be polled. 0; -EPERM for a plain file or directory
// (a log line says to use crt_fs_*); -EPROTOTYPE for a socket that listens or has
// datagrams; CRT_EINVAL, -EBADF, other -errno. On failure it stays the caller's.
CRTDEF int crt_stream_from_fd(crt_cx *cx, intptr_t fd, int how, crt_stream **s);
CRTDEF int crt_listener_from_fd(crt_cx *cx, intptr_t fd, int how, crt_listener **l);
CRTDEF int crt_udp_from_fd(crt_cx *cx, intptr_t fd, int how, crt_udp **u);
// Gives it back, still non-blocking: the descriptor, and the pointer becomes NULL; or
// CRT_EBUSY if there is another handle (crt_stream_clone), -EBADF of a stream that has no
// descriptor (crt_duplex, standard streams), CRT_EINVAL. A task that
// waits on it gets CRT_ECLOSED. Mirror into_std.
CRTDEF intptr_t crt_stream_into_fd(crt_stream **s);
CRTDEF intptr_t crt_listener_into_fd(crt_listener **l);
CRTDEF intptr_t crt_udp_into_fd(crt_udp **u);

// Closing the last handle under a task that waits gives that task CRT_ECLOSED.
// Closing it while another thread is inside a call on it is a mistake, as with any
// descriptor: give each task that may be running a clone.
// In all of these n is at most 4 GiB - 1, with pointers of 32 bits 2 GiB - 1 (CRT_EINVAL),
// and that of the first poll counts: n = crt_write_all(cx, s, buf, (size_t)n) is safe.

// Up to n bytes into buf: how many, 0 at the end of the stream (or n == 0), or
// -errno. Cancel-safe. Mirrors AsyncReadExt::read.
CRTDEF_POLL crt_read(crt_cx *cx, crt_stream *s, void *buf, size_t n);
// Exactly n: n, or CRT_EEOF, -errno. Not cancel-safe: bytes read so far are lost.
CRTDEF_POLL crt_read_exact(crt_cx *cx, crt_stream *s, void *buf, size_t n);
// As crt_read, and the bytes stay to be read. Of a pipe or terminal: -ENOTSOCK.
// Cancel-safe. Mirrors TcpStream::peek.
CRTDEF_POLL crt_peek(crt_cx *cx, crt_stream *s, void *buf, size_t n);
// Up to n bytes from buf: how many (0 of none, whatever the peer did), or -errno. Cancel-safe.
CRTDEF_POLL crt_write(crt_cx *cx, crt_stream *s, const void *buf, size_t n);
// All n: n, or -errno. Not cancel-safe: part may have been written.
CRTDEF_POLL crt_write_all(crt_cx *cx, crt_stream *s, const void *buf, size_t n);
// Several buffers in one call, in order. At most 1024 of them, 4 GiB - 1 in all, and
// no base NULL unless its len is 0 (CRT_EINVAL). The array must stay as it is until
// the call has ended. Results as for crt_read and crt_write (no byte asked: 0), of
// writev_all the sum. readv and writev are cancel-safe, writev_all is not.
typedef struct crt_iovec {
    void *base;
    size_t len;
} crt_iovec;
CRTDEF_POLL crt_readv(crt_cx *cx, crt_stream *s, const crt_iovec *pieces, size_t count);
CRTDEF_POLL crt_writev(crt_cx *cx, crt_stream *s, const crt_iovec *pieces, size_t count);
CRTDEF_POLL crt_writev_all(crt_cx *cx, crt_stream *s, const crt_iovec *pieces, size_t count);
// Waits until a crt_try_ call is worth while: 0 or an error. Cancel-safe.
CRTDEF_POLL crt_readable(crt_cx *cx, crt_stream *s);
CRTDEF_POLL crt_writable(crt_cx *cx, crt_stream *s);
// At once: bytes, 0 at the end of the stream or if none was asked for, CRT_EAGAIN, -errno;
// CRT_ESHUTDOWN once its runtime has ended, whatever had arrived (a stream without a
// descriptor, crt_duplex say, still gives what is in it). Any thread.
CRTDEF crt_poll crt_try_read(crt_stream *s, void *buf, size_t n);
CRTDEF crt_poll crt_try_write(crt_stream *s, const void *buf, size_t n);
CRTDEF crt_poll crt_try_peek(crt_stream *s, void *buf, size_t n);
CRTDEF crt_poll crt_try_readv(crt_stream *s, const crt_iovec *pieces, size_t count);
CRTDEF crt_poll crt_try_writev(crt_stream *s, const crt_iovec *pieces, size_t count);
// Ends the writing side; the peer reads 0. 0 or -errno. Does not wait. A pipe has one
// direction only: nothing happens, its end comes when it is closed.
CRTDEF crt_poll crt_shutdown(crt_cx *cx, crt_stream *s);
// Ends the reading side of a socket: what waits here gets 0, and so does who reads; but what the peer
// has sent, or sends later, may still be read (Linux). The peer is not told. On a pipe nothing happens.
CRTDEF crt_poll crt_shutdown_read(crt_cx *cx, crt_stream *s);
// Another handle on the same stream; the descriptor closes with the last. NULL of NULL, else
// it does not fail.
CRTDEF crt_stream *crt_stream_clone(crt_stream *s);
// Options, to be set at any time from any thread: 0, or CRT_EINVAL, -errno. The
// getters give the value, or -errno; buffers as the system has them, which on Linux
// is double of what was asked for.
CRTDEF intptr_t crt_stream_fd(const crt_stream *s);   // CRT_EINVAL for NULL
CRTDEF int crt_stream_set_nodelay(crt_stream *s, bool on);
CRTDEF int crt_stream_get_nodelay(const crt_stream *s);
CRTDEF int crt_stream_set_keepalive(crt_stream *s, bool on);
CRTDEF int crt_stream_set_keepalive_ex(crt_stream *s, const crt_keepalive *k);
CRTDEF int crt_stream_get_keepalive(const crt_stream *s, crt_keepalive *k);   // 0 or -errno
CRTDEF int crt_stream_set_linger(crt_stream *s, int seconds);   // negative: off
CRTDEF int crt_stream_get_linger(const crt_stream *s, int *seconds);   // -1: off. 0 or -errno
CRTDEF int crt_stream_set_recv_buffer(crt_stream *s, int bytes);
CRTDEF int crt_stream_get_recv_buffer(const crt_stream *s);
CRTDEF int crt_stream_set_send_buffer(crt_stream *s, int bytes);
CRTDEF int crt_stream_get_send_buffer(const crt_stream *s);
CRTDEF int crt_stream_set_ttl(crt_stream *s, int ttl);   // 1 to 255; IPv6: hop limit
CRTDEF int crt_stream_get_ttl(const crt_stream *s);
CRTDEF int crt_stream_set_tos(crt_stream *s, int tos);   // 0 to 255; IPv6: traffic class
CRTDEF int crt_stream_get_tos(const crt_stream *s);
CRTDEF int crt_stream_set_quickack(crt_stream *s, bool on);   // Linux, else -ENOPROTOOPT.
CRTDEF int crt_stream_get_quickack(const crt_stream *s);      // The kernel resets it by itself
// The error that the socket keeps (SO_ERROR), which is thereby cleared: 0 or -errno.
CRTDEF int crt_stream_take_error(crt_stream *s);
// 0, CRT_EINVAL, -errno: -ENOTCONN for the peer of a connection that was reset.
CRTDEF int crt_stream_peer_addr(const crt_stream *s, crt_addr *a);
CRTDEF int crt_stream_local_addr(const crt_stream *s, crt_addr *a);
CRTDEF intptr_t crt_listener_fd(const crt_listener *l);
CRTDEF int crt_listener_set_ttl(crt_listener *l, int ttl);
CRTDEF int crt_listener_get_ttl(const crt_listener *l);
CRTDEF int crt_listener_set_backlog(crt_listener *l, int backlog);   // from 1
CRTDEF int crt_listener_get_v6only(const crt_listener *l);
CRTDEF int crt_listener_take_error(crt_listener *l);
CRTDEF int crt_listener_local_addr(const crt_listener *l, crt_addr *a);
// What crt_close(&x) calls: sets the pointer to NULL, accepts a pointer to NULL. From
// any thread. A task that waits on what is closed gets CRT_ECLOSED; a call that has not
// begun to wait needs the handle until it returns. (A listener and a datagram socket have no
// clones: end the task that accepts or receives first, by crt_abort or a token.) The runtime's
// memory stays until its last stream is closed.
CRTDEF void crt_stream_close(crt_stream **s);
CRTDEF void crt_listener_close(crt_listener **l);

// Datagrams, over UDP or Unix sockets. One that is longer than n is cut off; only
// the calls with messages tell. All cancel-safe. Mirror UdpSocket, UnixDatagram.

// Zero: the default in the comment. Unix sockets heed the buffers, unlink_stale, mode.
typedef struct crt_udp_desc {
    bool reuseaddr, reuseport;   // false
    bool v6only;                 // false
    bool broadcast;              // false
    bool no_multicast_loop;      // members on this host hear what is sent
    bool unlink_stale;           // as for listeners
    unsigned mode;               // as for listeners
    int send_buffer;             // the system's; bytes
    int recv_buffer;
    int ttl;                     // the system's; 1 to 255
    int tos;                     // 0
    int multicast_ttl;           // 1; to 255
} crt_udp_desc;
// Binds to "host:port"; what the text may be, and the errors, as for crt_tcp_listen. `desc` may be NULL.
CRTDEF_POLL crt_udp_bind(crt_cx *cx, const char *addr, crt_udp **u);
CRTDEF_POLL crt_udp_bind_ex(crt_cx *cx, const char *addr, const crt_udp_desc *desc, crt_udp **u);
// Unix: a path or abstract name, as for crt_unix_listen; NULL: without a name (it can
// send, but nobody can answer). `desc` may be NULL.
CRTDEF_POLL crt_unix_dgram_bind(crt_cx *cx, const char *path, const crt_udp_desc *desc, crt_udp **u);
// One without a name, whose peer is fixed. 0, CRT_EINVAL, -ENOENT, -ECONNREFUSED.
CRTDEF_POLL crt_unix_dgram_connect(crt_cx *cx, const char *path, crt_udp **u);
CRTDEF int crt_unix_dgram_pair(crt_cx *cx, crt_udp **a, crt_udp **b);
// Fixes the peer, and frees it again; the own port stays. 0, CRT_EINVAL, -errno (-EADDRINUSE: another socket
// took the port meanwhile, on Linux). Neither waits.
CRTDEF crt_poll crt_udp_connect(crt_cx *cx, crt_udp *u, const crt_addr *to);
CRTDEF int crt_udp_disconnect(crt_udp *u);
// One datagram: its bytes (received: at most n of them), CRT_EINVAL, or -errno: -EDESTADDRREQ
// (a Unix socket: -ENOTCONN) without a peer, -EMSGSIZE, -ECONNREFUSED of one sent before. `from`
// may be NULL. A full Unix receiver: waits (if it was named by `to`, and with kqueue always, by
// looking again each 2 ms, since the system does not tell; without CRT_DRIVER_TIME, or memory,
// then CRT_EAGAIN).
CRTDEF_POLL crt_udp_send_to(crt_cx *cx, crt_udp *u, const void *buf, size_t n, const crt_addr *to);
CRTDEF_POLL crt_udp_recv_from(crt_cx *cx, crt_udp *u, void *buf, size_t n, crt_addr *from);
CRTDEF_POLL crt_udp_send(crt_cx *cx, crt_udp *u, const void *buf, size_t n);
CRTDEF_POLL crt_udp_recv(crt_cx *cx, crt_udp *u, void *buf, size_t n);
// As recv_from, and the datagram stays. `from` may be NULL.
CRTDEF_POLL crt_udp_peek_from(crt_cx *cx, crt_udp *u, void *buf, size_t n, crt_addr *from);

// One datagram in a batch; all-zero but for buf and size is ready.
typedef struct crt_udp_msg {
    void *buf;
    size_t size;      // room in buf, or bytes to send
    size_t len;       // out: bytes received or sent
    uint32_t flags;   // out: CRT_UDP_TRUNCATED: the datagram was longer than the room
    uint32_t reserved;
    crt_addr addr;    // out: the sender; to send: the receiver, len 0: the fixed peer
} crt_udp_msg;
enum { CRT_UDP_TRUNCATED = 1 };
// Waits until one at least has been received (sent), then takes what there is (what
// there is room for), at most count and at most 64, in one system call where there is
// one for that. How many, from the first on; an error only if it is that of the first.
// count 0: 0. Mirror recvmmsg and sendmmsg.
CRTDEF_POLL crt_udp_recv_many(crt_cx *cx, crt_udp *u, crt_udp_msg *msgs, size_t count);
CRTDEF_POLL crt_udp_send_many(crt_cx *cx, crt_udp *u, crt_udp_msg *msgs, size_t count);
// Wait until a try is worth while: 0 or an error. The tries, at once: bytes (messages),
// CRT_EAGAIN, -errno; any thread. `to` NULL: the fixed peer; `from` may be NULL.
CRTDEF_POLL crt_udp_readable(crt_cx *cx, crt_udp *u);
CRTDEF_POLL crt_udp_writable(crt_cx *cx, crt_udp *u);
CRTDEF crt_poll crt_udp_try_send_to(crt_udp *u, const void *buf, size_t n, const crt_addr *to);
CRTDEF crt_poll crt_udp_try_recv_from(crt_udp *u, void *buf, size_t n, crt_addr *from);
CRTDEF crt_poll crt_udp_try_recv_many(crt_udp *u, crt_udp_msg *msgs, size_t count);
CRTDEF crt_poll crt_udp_try_send_many(crt_udp *u, crt_udp_msg *msgs, size_t count);
// Options, as for streams.
CRTDEF intptr_t crt_udp_fd(const crt_udp *u);
CRTDEF int crt_udp_set_broadcast(crt_udp *u, bool on);
CRTDEF int crt_udp_get_broadcast(const crt_udp *u);
CRTDEF int crt_udp_set_recv_buffer(crt_udp *u, int bytes);
CRTDEF int crt_udp_get_recv_buffer(const crt_udp *u);
CRTDEF int crt_udp_set_send_buffer(crt_udp *u, int bytes);
CRTDEF int crt_udp_get_send_buffer(const crt_udp *u);
CRTDEF int crt_udp_set_ttl(crt_udp *u, int ttl);
CRTDEF int crt_udp_get_ttl(const crt_udp *u);
CRTDEF int crt_udp_set_tos(crt_udp *u, int tos);
CRTDEF int crt_udp_get_tos(const crt_udp *u);
CRTDEF int crt_udp_take_error(crt_udp *u);
// Multicast, IPv4 and IPv6 alike. An interface goes by its index (if_nametoindex), 0:
// the system chooses. The group's port does not matter. 0, CRT_EINVAL, -errno.
CRTDEF int crt_udp_join(crt_udp *u, const crt_addr *group, uint32_t ifindex);
CRTDEF int crt_udp_leave(crt_udp *u, const crt_addr *group, uint32_t ifindex);
CRTDEF int crt_udp_set_multicast_loop(crt_udp *u, bool on);
CRTDEF int crt_udp_get_multicast_loop(const crt_udp *u);
CRTDEF int crt_udp_set_multicast_ttl(crt_udp *u, int ttl);   // 0 to 255; 0: this host only
CRTDEF int crt_udp_get_multicast_ttl(const crt_udp *u);
CRTDEF int crt_udp_set_multicast_interface(crt_udp *u, uint32_t ifindex);   // to send from
CRTDEF int crt_udp_local_addr(const crt_udp *u, crt_addr *a);
CRTDEF int crt_udp_peer_addr(const crt_udp *u, crt_addr *a);   // -ENOTCONN if none is fixed
CRTDEF void crt_udp_close(crt_udp **u);

// Waits until any descriptor is readable or writable, without taking it over: it
// is registered for the duration of the wait. 0 or -errno (a plain file, a device that is
// always ready: -EPERM). The descriptor must stay open meanwhile. Cancel-safe. In place of AsyncFd.
CRTDEF_POLL crt_fd_readable(crt_cx *cx, intptr_t fd);
CRTDEF_POLL crt_fd_writable(crt_cx *cx, intptr_t fd);
// The same for any of several reasons: which of them hold (a hang-up or an error is
// reported whether asked for or not). CRT_FD_PRIORITY: urgent data, and what POLLPRI
// means for the descriptor (a changed file of sysfs, say); -EOPNOTSUPP on FreeBSD and
// NetBSD, whose kqueue does not tell of it. 0: waits for an error or a hang-up alone.
enum { CRT_FD_READ = 1, CRT_FD_WRITE = 2, CRT_FD_PRIORITY = 4, CRT_FD_ERROR = 8, CRT_FD_HANGUP = 16 };
CRTDEF_POLL crt_fd_ready(crt_cx *cx, intptr_t fd, int reasons);

// ---------------------------------------------------------------------------
// >>api streams   in memory, scripted, standard, buffered, copying, frames
// ---------------------------------------------------------------------------
// On top of any crt_stream. The structs go into a frame; all-zero is ready or is what
// _init makes ready. What keeps memory has a _drop, which accepts an all-zero struct
// and may be called twice: call it in CRT_FINALLY. (A task that a shutdown ends by
// force runs no CRT_FINALLY: buffers that crt_reader, crt_writer and crt_bytes have
// allocated are lost then; those of the copies are not.) The stream stays the caller's
// and must be open while it is in use. One task at a time uses a struct.
//
// SLOW PEERS hold no server that sets three limits, each with crt_timeout:
//     self->until = crt_now(cx) + CRT_SEC(10);          // for a handshake, or a request,
//     CRT_AWAIT(self->n = crt_timeout_at(cx, &self->timer, self->until,       // as a whole
//                                        handshake_run(&self->handshake, cx)));
//     CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, CRT_SEC(60),          // for idling
//                                     crt_reader_fill(cx, &self->in, 1)));
//     CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, CRT_SEC(30),          // for a reply
//                                     crt_writer_flush(cx, &self->out)));
// A limit for each read alone is not enough: a byte a minute would keep it happy.

// Two streams that are connected in memory, each holding up to `capacity` bytes that
// its peer has not read; then writes wait. They read, write, end and close like a pair
// of sockets: 0 at the end, -EPIPE once the peer is closed; what was written before
// that can still be read. Any task of any runtime may use them; crt_try_read and
// crt_try_write also plain threads. Needs no driver. They have no descriptor
// (crt_stream_fd: -1) and no address or option (CRT_EINVAL). After crt_shutdown_read
// the peer is refused, as on a Unix socket. 0, CRT_EINVAL (capacity 0),
// CRT_ENOMEM. Does not wait. Mirrors io::duplex.
CRTDEF int crt_duplex(crt_cx *cx, size_t capacity, crt_stream **a, crt_stream **b);

// A stream that follows a script, for tests of what speaks a protocol. Each step is one
// of these, in an initializer; n is not 0:
//     static const crt_mock_step script[] = {
//         crt_mock_write("PING\r\n", 6), crt_mock_wait(CRT_MS(50)), crt_mock_read("PONG\r\n", 6),
//         crt_mock_read_error(CRT_ECONNRESET),
//     };
//     crt_mock_new(cx, "redis", script, 4, &s);
// A read gets the bytes of the next step, or of part of it, and waits while that is a
// write or a wait. A write must be the bytes of the next write step; it may come before
// the reads that stand before that, but not before a wait. A wait begins when all steps
// before it are done, and follows the runtime's clock. After the last step reads give 0
// and writes -EPIPE. A write that is not in the script gives CRT_EPROTO, as does
// everything after it, and a log line says what was expected and what came. Closing the
// last handle with steps left, waits apart, is logged too.
typedef struct crt_mock_step {
    int32_t kind, error;
    const void *data;
    size_t n;
    crt_duration wait;
} crt_mock_step;
enum { CRT__MOCK_READ = 1, CRT__MOCK_WRITE, CRT__MOCK_READ_ERROR, CRT__MOCK_WRITE_ERROR, CRT__MOCK_WAIT };
#define crt_mock_read(data, n) {CRT__MOCK_READ, 0, (data), (n), 0}          // these are read
#define crt_mock_write(data, n) {CRT__MOCK_WRITE, 0, (data), (n), 0}        // these are to be written
#define crt_mock_read_error(error) {CRT__MOCK_READ_ERROR, (error), 0, 0, 0} // a read fails so
#define crt_mock_write_error(error) {CRT__MOCK_WRITE_ERROR, (error), 0, 0, 0}
#define crt_mock_wait(d) {CRT__MOCK_WAIT, 0, 0, 0, (d)}
// The script is copied, and so is the name (NULL: none; at most 31 bytes), which the log
// lines have. 0, CRT_EINVAL (a step makes no sense), CRT_ENOMEM. Does not wait. Waits need
// CRT_DRIVER_TIME. Mirrors tokio_test::io::Builder.
CRTDEF int crt_mock_new(crt_cx *cx, const char *name, const crt_mock_step *steps, size_t n, crt_stream **s);
// How many steps, waits apart, are left: 0 once the script has been followed. CRT_EPROTO
// after a wrong write; CRT_EINVAL if s is no such stream. Keep a clone of the stream
// to ask after the tested code has closed it. Any thread.
CRTDEF int crt_mock_left(const crt_stream *s);

// The standard streams of the process as crt_streams. They are read and written by a
// thread of their own each, which lives while a handle is open: terminals and pipes may
// be shared with other processes, so they are never made non-blocking, and plain files
// could not be waited for. No shutdown waits for that thread: a read that is pending
// when the runtime ends is just given up. Closing closes the handle, not descriptor 0, 1
// or 2; crt_stream_fd is -1. All runtimes share them. 0, -EBADF (the descriptor is
// closed), CRT_ENOMEM. Does not wait. Needs no driver. Mirror io::stdin and so on.
//   in   reads no more than it was asked for. What comes in for a read that was
//        cancelled is kept for the next one, through whatever handle. 0 at the end.
//   out, err   crt_write is done when the bytes are in a buffer (16 KiB), from which they
//        are written in order; exit() and a return from main() wait for that, as they do
//        for stdio. An error is told to the next crt_write or crt_flush; what was
//        buffered is lost then.
CRTDEF int crt_stdin(crt_cx *cx, crt_stream **s);
CRTDEF int crt_stdout(crt_cx *cx, crt_stream **s);
CRTDEF int crt_stderr(crt_cx *cx, crt_stream **s);
// Waits until everything written to stdout or stderr has been given to the system: 0
// or -errno. Other streams have nothing to flush: 0. Cancel-safe. Mirrors flush.
CRTDEF_POLL crt_flush(crt_cx *cx, crt_stream *s);

// A buffered reader.
typedef struct crt_reader {
    crt_stream *stream;
    unsigned char *data;           // buffered: data[pos] to data[filled - 1]
    size_t capacity, pos, filled;
    size_t want, done, scanned;    // of the call that waits
    size_t base;                   // the capacity it began with
    uint32_t owned, reserved;
} crt_reader;
// Reads s through a buffer of n bytes (one of them is kept for the zero after a line):
// the caller's, of two bytes at least, or (buf NULL; n 0: 8 KiB) one that is allocated at
// the first read, and that grows, as bytes arrive, up to the limit that a call names.
// Cannot fail.
CRTDEF void crt_reader_init(crt_reader *r, crt_stream *s, void *buf, size_t n);
CRTDEF void crt_reader_drop(crt_reader *r);   // frees the buffer; leaves the stream
// What is buffered: where, how much; and having used the first n of it. The bytes stay
// where they are until the next call that may read.
CRTDEF void *crt_reader_data(const crt_reader *r);
CRTDEF size_t crt_reader_buffered(const crt_reader *r);
CRTDEF void crt_reader_consume(crt_reader *r, size_t n);
// All of the following may give -errno as crt_read does, CRT_ENOMEM, and CRT_EINVAL
// without a buffer or stream. Whatever they return, bytes that they have not handed
// out stay buffered; all but crt_reader_read_exact are cancel-safe for that reason.
//
// Reads until at least `min` bytes are buffered: how many are. 0 at the end of the
// stream, CRT_EEOF if it comes with fewer; CRT_EMSGSIZE if they do not fit.
CRTDEF_POLL crt_reader_fill(crt_cx *cx, crt_reader *r, size_t min);
// As crt_read and crt_read_exact, from the buffer first.
CRTDEF_POLL crt_reader_read(crt_cx *cx, crt_reader *r, void *buf, size_t n);
CRTDEF_POLL crt_reader_read_exact(crt_cx *cx, crt_reader *r, void *buf, size_t n);
// The bytes up to and with the next `delimiter`, at most max of them (0: what the
// buffer holds): how many, and *data points to them, inside the buffer, until the next
// call. Without the delimiter: the last bytes before the end; then 0.
// CRT_EMSGSIZE if there is none in max bytes: nothing is lost. To go on, call
// crt_reader_skip_until, or again with a larger max.
CRTDEF_POLL crt_reader_read_until(crt_cx *cx, crt_reader *r, int delimiter, size_t max, void **data);
// The next line without its end ("\n" or "\r\n", for which max counts too): its length,
// and *line points to it, with a zero after it. The last line needs no end.
// CRT_ECLOSED at the end of the stream. CRT_EMSGSIZE as above.
CRTDEF_POLL crt_reader_read_line(crt_cx *cx, crt_reader *r, size_t max, char **line);
// Drops everything up to and with the next `delimiter`: 0, or CRT_ECLOSED at the end.
CRTDEF_POLL crt_reader_skip_until(crt_cx *cx, crt_reader *r, int delimiter);

// A buffered writer. Nothing is written before the buffer is full or flushed.
typedef struct crt_writer {
    crt_stream *stream;
    unsigned char *data;           // to be written: data[pos] to data[filled - 1]
    size_t capacity, pos, filled;
    size_t want, done;             // of the call that waits
    uint32_t owned, reserved;
} crt_writer;
// As crt_reader_init. The buffer does not grow.
CRTDEF void crt_writer_init(crt_writer *w, crt_stream *s, void *buf, size_t n);
CRTDEF void crt_writer_drop(crt_writer *w);   // what was not flushed is lost
CRTDEF size_t crt_writer_buffered(const crt_writer *w);
// n, once all of it is written or buffered; large pieces pass by the buffer. -errno,
// CRT_ENOMEM, CRT_EINVAL. Not cancel-safe: part of it may have been taken. What was
// buffered is kept, in order, whatever happens.
CRTDEF_POLL crt_writer_write_all(crt_cx *cx, crt_writer *w, const void *data, size_t n);
// Writes what is buffered: 0, or -errno; then the rest stays buffered. Cancel-safe.
CRTDEF_POLL crt_writer_flush(crt_cx *cx, crt_writer *w);
// Flushes, then crt_shutdown. 0 or -errno. Cancel-safe.
CRTDEF_POLL crt_writer_shutdown(crt_cx *cx, crt_writer *w);

// Bytes from CRT_MALLOC. There is one more byte than n, a zero, unless data is NULL.
typedef struct crt_bytes {
    void *data;
    size_t n, capacity;
} crt_bytes;
CRTDEF void crt_bytes_drop(crt_bytes *b);
// Appends what s gives until its end; b->n may reach `limit`. b->n, or -errno,
// CRT_ENOMEM; CRT_EMSGSIZE if there is more: b then has limit + 1 bytes and the rest is
// in the stream. Cancel-safe: b has what was read; call it again to go on. Mirrors
// AsyncReadExt::read_to_end.
CRTDEF_POLL crt_read_to_end(crt_cx *cx, crt_stream *s, crt_bytes *b, size_t limit);

// One direction of a copy.
typedef struct crt__pump {
    size_t pos, filled;
    uint64_t count;
    uint32_t ended, moved, full, reserved;
} crt__pump;
// What crt_copy works with. The buffer is allocated while it copies.
typedef struct crt_copier {
    size_t buffer;    // 0: 8 KiB, and 64 KiB once reads keep filling it
    uint64_t count;   // bytes written so far; they stay after the end
    crt__group group;
    crt_slot memory;
    crt__pump pump;
} crt_copier;
// Copies everything from one stream to another until the end of the first: how many
// bytes, or -errno, CRT_ENOMEM. Nothing is closed. Not cancel-safe: up to a buffer of
// bytes that were read is lost; no memory is. Mirrors io::copy.
CRTDEF_POLL crt_copy(crt_cx *cx, crt_copier *c, crt_stream *from, crt_stream *to);
// What crt_copy_bidirectional works with.
typedef struct crt_copier_pair {
    size_t buffer;              // of each direction; 0: as for crt_copy
    crt_duration idle;          // longest time without a byte either way; 0: no limit
    uint64_t a_to_b, b_to_a;    // bytes written so far; they stay after the end
    crt__group group;
    crt_slot slots[5];          // each direction's, the timer's, each buffer's
    crt__pump pump[2];
    crt_instant moved;
    uint32_t turn, reserved;
} crt_copier_pair;
// Copies both ways at once. When one side ends, the other's writing side is shut down,
// and the rest goes on. 0 once both have ended; -errno of the first that fails,
// CRT_ENOMEM, CRT_ETIMEDOUT (idle). Nothing is closed. Not cancel-safe, as crt_copy.
// Mirrors io::copy_bidirectional.
CRTDEF_POLL crt_copy_bidirectional(crt_cx *cx, crt_copier_pair *c, crt_stream *a, crt_stream *b);

// Frames with their length in front. All-zero: four bytes, big-endian, then so many
// bytes. Mirrors LengthDelimitedCodec, whose parameters these are.
typedef struct crt_framed {
    size_t max_frame_length;        // 8 MiB; what the length field may say
    uint32_t length_field_offset;   // bytes before the field; at most 64
    uint32_t length_field_length;   // 4; 1 to 8
    int64_t length_adjustment;      // added to what the field says: within +-INT32_MAX
    int32_t num_skip;               // bytes dropped from the front; 0: all up to and with
                                    // the field; CRT_FRAMED_KEEP: none, and length_adjustment
                                    // has to count those bytes in
    bool little_endian;
} crt_framed;
enum { CRT_FRAMED_KEEP = -1 };
// The next frame: field + adjustment bytes after those that are skipped. Its length (0
// too), and *frame points to it, inside the buffer, until the next call. `f` may be
// NULL. CRT_ECLOSED at the end of the stream between two frames, CRT_EEOF inside one.
// CRT_EMSGSIZE: too long; no memory was taken for it. CRT_EPROTO: the length is
// negative, or ends the frame inside its head. CRT_EINVAL: `f` makes no sense. After
// these, and after -errno, the head is still buffered. Memory grows with the bytes that
// have come, not with what the field promises. Cancel-safe.
CRTDEF_POLL crt_framed_read(crt_cx *cx, crt_reader *r, const crt_framed *f, void **frame);
// Buffers a frame of n bytes: length_field_offset zeros, the field (n - adjustment), the
// data. n; CRT_EMSGSIZE; CRT_EINVAL if the field cannot hold the length; as
// crt_writer_write_all otherwise. Send it with crt_writer_flush. Not cancel-safe.
CRTDEF_POLL crt_framed_write(crt_cx *cx, crt_writer *w, const crt_framed *f, const void *data, size_t n);

// ---------------------------------------------------------------------------
// >>api fs        files and directories
// ---------------------------------------------------------------------------
// All of it runs on the blocking pool, on memory of its own: what a call writes is
// copied when it begins, what it reads is handed over when it ends. So a wait may be
// cancelled at any moment; no buffer, descriptor or memory is lost, and nothing is
// written to memory that has gone. A call that has not begun is then dropped; one
// that runs goes on to its end, unless its line says otherwise. Paths and data are
// those of the first poll. Errors come as -errno; CRT_EINVAL for a NULL path, file
// or buffer, CRT_ENOMEM, CRT_ESHUTDOWN. Any runtime, any thread. Mirrors tokio::fs.

typedef struct crt_file crt_file;
typedef struct crt_dir crt_dir;

// How to open. At least one of read, write, append; truncate needs write without
// append, create and create_new need write or append (CRT_EINVAL). Mirrors OpenOptions.
typedef struct crt_fs_open_desc {
    bool read, write;
    bool append;       // every write goes to the end
    bool truncate;     // cut to nothing
    bool create;       // if it is not there
    bool create_new;   // it must not be there (-EEXIST)
    bool no_follow;    // not through a symbolic link (-ELOOP)
    uint32_t mode;     // of a new file, less the umask (0666)
} crt_fs_open_desc;
// Opens a file, close-on-exec; desc NULL: for reading. 0 and *f, or -errno.
// Cancelled: a descriptor that it gets all the same is closed. Opening and reading a
// FIFO or a terminal hold a pool thread up for as long as the other end likes, and the
// end of the runtime too. Mirrors File::open.
CRTDEF_POLL crt_fs_open(crt_cx *cx, const char *path, const crt_fs_open_desc *desc, crt_file **f);

// Calls at the position of the file (read, read_exact, write, write_all, seek) are one
// at a time: while a task waits for one, another gets CRT_EBUSY. One that follows a
// cancelled one waits until that has ended. Any number of calls with an offset, and of
// the rest, may be under way at once. Closing while calls are under way is safe: the
// descriptor closes with the last.

// Up to n bytes (at most 2 MiB a call): how many, 0 at the end. Cancel-safe: the
// position is as before, or the bytes are kept for the next read.
CRTDEF_POLL crt_file_read(crt_cx *cx, crt_file *f, void *buf, size_t n);
// Exactly n: n, or CRT_EEOF. Not cancel-safe: the position may have moved.
CRTDEF_POLL crt_file_read_exact(crt_cx *cx, crt_file *f, void *buf, size_t n);
// Up to n bytes (at most 2 MiB): how many. All n: n. Cancelled: part may be written.
CRTDEF_POLL crt_file_write(crt_cx *cx, crt_file *f, const void *buf, size_t n);
CRTDEF_POLL crt_file_write_all(crt_cx *cx, crt_file *f, const void *buf, size_t n);
// At an offset; the position stays. CRT_EINVAL for offset < 0. Mirror FileExt.
CRTDEF_POLL crt_file_pread(crt_cx *cx, crt_file *f, void *buf, size_t n, int64_t offset);
CRTDEF_POLL crt_file_pread_exact(crt_cx *cx, crt_file *f, void *buf, size_t n, int64_t offset);
CRTDEF_POLL crt_file_pwrite(crt_cx *cx, crt_file *f, const void *buf, size_t n, int64_t offset);
CRTDEF_POLL crt_file_pwrite_all(crt_cx *cx, crt_file *f, const void *buf, size_t n, int64_t offset);
enum { CRT_SEEK_SET = 0, CRT_SEEK_CUR = 1, CRT_SEEK_END = 2 };
// Moves the position. 0 and *position (which may be NULL), or -errno.
CRTDEF_POLL crt_file_seek(crt_cx *cx, crt_file *f, int64_t offset, int whence, int64_t *position);
// To the disk: data and metadata, or the data and what is needed to find it.
CRTDEF_POLL crt_file_sync(crt_cx *cx, crt_file *f);
CRTDEF_POLL crt_file_sync_data(crt_cx *cx, crt_file *f);
// Cuts or grows (with zeros) to `length` bytes.
CRTDEF_POLL crt_file_set_len(crt_cx *cx, crt_file *f, int64_t length);
CRTDEF_POLL crt_file_set_mode(crt_cx *cx, crt_file *f, uint32_t mode);
CRTDEF intptr_t crt_file_fd(const crt_file *f);   // stays the file's
// What crt_close(&f) calls. Does not wait: crt_file_sync first, if it has to last.
CRTDEF void crt_file_close(crt_file **f);

// What a file is. Times are nanoseconds since 1970, UTC.
enum {
    CRT_FS_OTHER = 0, CRT_FS_FILE = 1, CRT_FS_DIR = 2, CRT_FS_SYMLINK = 3,
    CRT_FS_FIFO = 4, CRT_FS_SOCKET = 5, CRT_FS_CHAR = 6, CRT_FS_BLOCK = 7
};
typedef struct crt_fs_stat {
    uint64_t size, ino, dev, nlink;
    uint64_t allocated;   // bytes on the disk
    int64_t atime_ns, mtime_ns, ctime_ns;
    uint32_t kind;        // CRT_FS_*
    uint32_t mode;        // permissions: 07777
    uint32_t uid, gid;
} crt_fs_stat;
CRTDEF_POLL crt_file_metadata(crt_cx *cx, crt_file *f, crt_fs_stat *st);
CRTDEF_POLL crt_fs_metadata(crt_cx *cx, const char *path, crt_fs_stat *st);   // follows links
CRTDEF_POLL crt_fs_lstat(crt_cx *cx, const char *path, crt_fs_stat *st);      // does not
// 1, 0, or -errno if that cannot be told (a directory that may not be searched).
CRTDEF_POLL crt_fs_exists(crt_cx *cx, const char *path);

// 0 or -errno each. mode 0: 0777, less the umask. _all: what is missing above it too;
// 0 if it is there already.
CRTDEF_POLL crt_fs_create_dir(crt_cx *cx, const char *path, uint32_t mode);
CRTDEF_POLL crt_fs_create_dir_all(crt_cx *cx, const char *path, uint32_t mode);
CRTDEF_POLL crt_fs_remove_file(crt_cx *cx, const char *path);
CRTDEF_POLL crt_fs_remove_dir(crt_cx *cx, const char *path);   // an empty one
// A directory and all below it; never follows a symbolic link (one at `path` is itself
// removed). Takes a descriptor for each level. Stops at the first error, and when it is
// cancelled: part is left. Mirrors remove_dir_all.
CRTDEF_POLL crt_fs_remove_dir_all(crt_cx *cx, const char *path);
// Replaces `to`. To have it on the disk: crt_fs_open(cx, directory, NULL, &d), crt_file_sync (not on Windows).
CRTDEF_POLL crt_fs_rename(crt_cx *cx, const char *from, const char *to);
// Copies what a plain file holds and its permissions (set-user-ID and the like only if the
// owners are the same); *bytes (may be NULL) says how much. `to` is created or replaced.
// CRT_EINVAL if `from` is not a plain file, or the same file as `to`. Stops when it is
// cancelled: part is left. Mirrors fs::copy.
CRTDEF_POLL crt_fs_copy(crt_cx *cx, const char *from, const char *to, uint64_t *bytes);
CRTDEF_POLL crt_fs_hard_link(crt_cx *cx, const char *from, const char *to);
CRTDEF_POLL crt_fs_symlink(crt_cx *cx, const char *target, const char *path);
CRTDEF_POLL crt_fs_set_mode(crt_cx *cx, const char *path, uint32_t mode);
// Texts that come from CRT_MALLOC: crt_free them. The target of a link; the absolute
// path without links, "." and "..".
CRTDEF_POLL crt_fs_read_link(crt_cx *cx, const char *path, char **target);
CRTDEF_POLL crt_fs_canonicalize(crt_cx *cx, const char *path, char **real);
// A new file of mode 0600, open for reading and writing, in dir (NULL: $TMPDIR or
// /tmp). *path (crt_free it) is its name; path NULL: it has none and vanishes when it
// is closed. A new directory of mode 0700. Cancelled: removed again.
CRTDEF_POLL crt_fs_temp_file(crt_cx *cx, const char *dir, crt_file **f, char **path);
CRTDEF_POLL crt_fs_temp_dir(crt_cx *cx, const char *dir, char **path);

// What is in a directory, 32 entries a hop, in no order, without "." and "..".
typedef struct crt_fs_dirent {
    const char *name;   // valid until the next call on this directory
    uint64_t ino;
    uint32_t kind;      // CRT_FS_*, of a link itself
    uint32_t reserved;
} crt_fs_dirent;
CRTDEF_POLL crt_fs_read_dir(crt_cx *cx, const char *path, crt_dir **d);
// 1 and *e, 0 at the end, or -errno. One task at a time (CRT_EBUSY). Cancel-safe: no
// entry is lost. Mirrors ReadDir::next_entry.
CRTDEF_POLL crt_dir_next(crt_cx *cx, crt_dir *d, crt_fs_dirent *e);
CRTDEF void crt_dir_close(crt_dir **d);   // what crt_close(&d) calls

// A whole file. *data has one byte more than *n, a zero; crt_free it. Stops when it is
// cancelled. _max: -EFBIG if the file has more than `most` bytes. Mirrors fs::read.
CRTDEF_POLL crt_fs_read_file(crt_cx *cx, const char *path, void **data, size_t *n);
CRTDEF_POLL crt_fs_read_file_max(crt_cx *cx, const char *path, size_t most, void **data, size_t *n);
// Creates or replaces a file (mode 0666 less the umask) with a copy of the data. 0,
// or -errno, CRT_ENOMEM. Cancelled: the write may go on. Mirrors fs::write.
CRTDEF_POLL crt_fs_write_file(crt_cx *cx, const char *path, const void *data, size_t n);

// Gives back what crt handed out as memory. Accepts NULL. Any thread.
CRTDEF void crt_free(void *memory);

// ---------------------------------------------------------------------------
// >>api process   child processes
// ---------------------------------------------------------------------------
// Need CRT_DRIVER_IO (CRT_ENODRIVER). A child gets descriptors 0 to 2 and what the
// description names, no other, whatever this process has open; an empty signal mask
// and default actions. Children of crt are waited for by number: a program that calls
// wait() for any child, or ignores SIGCHLD, takes their status away (-ECHILD). The
// environment is read as by getenv: nobody may change it (setenv, putenv, unsetenv)
// while a task polls crt_process_spawn or crt_process_output for the first time.

typedef struct crt_process crt_process;

// What a child's descriptor is. All zero: the parent's.
enum {
    CRT_STDIO_INHERIT = 0,
    CRT_STDIO_NULL = 1,     // /dev/null
    CRT_STDIO_PIPE = 2,     // a pipe; its other end is a crt_stream
    CRT_STDIO_FD = 3,       // a duplicate of `fd`, which stays the caller's
    CRT_STDIO_STREAM = 4,   // *stream: closed here, NULL; blocking there. CRT_EBUSY if it has
                            // clones. After an error it may be the one or the other: where
                            // it is not NULL, it is still the caller's
    CRT_STDIO_STDOUT = 5    // for err only: where out goes
};
typedef struct crt_stdio {
    int kind;
    int reserved;
    intptr_t fd;
    crt_stream **stream;
} crt_stdio;
typedef struct crt_process_fd {
    intptr_t fd;   // of this process
    int as;        // its number in the child: 0 to 255
    int reserved;
} crt_process_fd;

enum { CRT_PROCESS_NEW_GROUP = -1 };
// What to start. All of it is copied at the first poll. Mirrors process::Command.
typedef struct crt_process_desc {
    const char *const *argv;     // ends with NULL; at least one
    const char *program;         // NULL: argv[0]. Without a '/' it is looked for in PATH,
                                 // the child's if env sets one
    const char *const *env;      // ends with NULL; "NAME=value" sets, "NAME" removes. NULL:
                                 // as it is
    bool env_clear;              // begin with nothing, not with this process's
    bool kill_on_drop;           // crt_close, and the end of the runtime, kill it (it
                                 // alone, not its group)
    bool new_session;            // setsid
    bool set_uid, set_gid;       // to uid (root: without other groups), to gid. By fork(), not
                                 // vfork(): slower where this process has much memory
    uint32_t uid, gid;
    int group;                   // 0: the parent's; CRT_PROCESS_NEW_GROUP; or which to join
    const char *dir;             // working directory; NULL: the parent's
    crt_stdio in, out, err;
    const crt_process_fd *fds;   // others, at most 64
    size_t fd_count;
} crt_process_desc;
// Starts a child, on the blocking pool: loading a program holds a thread up for a
// millisecond or so, from a cold disk for as long as that takes. 0 and *p; what execve,
// chdir and the like say, as -errno (no such program: -ENOENT; a script without "#!":
// -ENOEXEC; one that was still being written when another child was started: perhaps -ETXTBSY, try
// again); CRT_EINVAL, CRT_ENOMEM; -EMFILE and the like, also where nothing is left to watch it
// with. After an error, or cancelled: no child, or one that was killed. Mirrors Command::spawn.
CRTDEF_POLL crt_process_spawn(crt_cx *cx, const crt_process_desc *desc, crt_process **p);

// How a child ended: exited with `code`, or by `signal`.
typedef struct crt_exit_status {
    int code;     // 0 to 255; -1 if it was killed
    int signal;   // 0 if it exited
    bool core_dumped;
} crt_exit_status;
CRTDEF bool crt_exit_ok(const crt_exit_status *status);   // exited with 0

// Closes its stdin, if that was not taken, and waits until it has ended. 0 and *status
// (which may be NULL), again and again; -ECHILD (see above); closed meanwhile: CRT_ECLOSED;
// it lives, and its runtime has ended: CRT_ESHUTDOWN. By a pidfd; where the kernel has none
// (before 5.3, or a filter refuses it), by SIGCHLD, which needs CRT_DRIVER_SIGNAL (CRT_ENODRIVER),
// of the waiter's runtime or the child's. A paused clock does not wait for a child: a timeout around this ends
// at once then. Cancel-safe. Mirrors Child::wait.
CRTDEF_POLL crt_process_wait(crt_cx *cx, crt_process *p, crt_exit_status *status);
// At once: 1 and *status if it has ended, 0 if not, -ECHILD. Any thread.
CRTDEF int crt_process_try_wait(crt_process *p, crt_exit_status *status);
// SIGKILL; any signal; one for its whole process group (CRT_EINVAL unless it was given a
// group or session of its own). 0, or -ESRCH once it has been waited for, CRT_EINVAL.
// Never hits another process. Any thread. Mirror Child::start_kill.
CRTDEF int crt_process_kill(crt_process *p);
CRTDEF int crt_process_signal(crt_process *p, int sig);
CRTDEF int crt_process_signal_group(crt_process *p, int sig);
CRTDEF int crt_process_id(const crt_process *p);   // 0 once it has been waited for
// The other ends of its pipes, now the caller's to close. NULL: no pipe, or taken before.
CRTDEF crt_stream *crt_process_take_stdin(crt_process *p);
CRTDEF crt_stream *crt_process_take_stdout(crt_process *p);
CRTDEF crt_stream *crt_process_take_stderr(crt_process *p);
// What crt_close(&p) calls: closes the pipes that were not taken. A child that still runs
// goes on, or with kill_on_drop is killed, and the runtime reaps it when it ends; after
// the runtime's end, the next crt_process_spawn or crt_close of any. Any thread; a task
// that waits for it gets CRT_ECLOSED.
CRTDEF void crt_process_close(crt_process **p);

// Runs a child to its end and collects what it says. Lives in the frame, all-zero is
// ready. Afterwards, however it ended, give it to crt_output_free.
typedef struct crt__collect {   // of crt_output
    crt_frame co;
    crt_stream *stream;
    void *data;
    const void *from;
    size_t n, room, most;
    crt_poll r;
} crt__collect;
typedef struct crt_output {
    crt_frame crt__co;
    const void *input;          // for its stdin; NULL: what desc->in says, inherit meaning
    size_t input_n;             // null here
    size_t max_out, max_err;    // limits in bytes (8 MiB)
    void *out, *err;            // what it wrote, each with one zero more
    size_t out_n, err_n;
    crt_exit_status status;
    crt_process *crt__p;
    crt_process_desc crt__desc;
    crt__collect crt__in, crt__out, crt__err;
    CRT_SELECT(3) crt__sel;
    crt__group crt__held;
    crt_slot crt__holds;
    crt_poll crt__r, crt__x[3];
} crt_output;
// 0 once it has ended and both pipes are closed (by its own children too), whatever its
// status; out and err of desc are pipes unless they say otherwise. -EFBIG: more than the
// limit; the child is killed, the bytes up to there are kept. As crt_process_spawn
// otherwise. Cancelled, or ended by a shutdown: the child is killed. Mirrors Command::output.
CRTDEF_POLL crt_process_output(crt_cx *cx, const crt_process_desc *desc, crt_output *o);
CRTDEF void crt_output_free(crt_output *o);

// ---------------------------------------------------------------------------
// >>api signal    signals
// ---------------------------------------------------------------------------

// Waits for the next signal `sig`. A task sees every signal that arrives after
// its first call for that number, several at once as one, however many other
// tasks wait for it; of two waits of one task for the same number only one is told. The
// default action is switched off for good at the first call. 0, CRT_EINVAL (SIGKILL,
// SIGSTOP, faults, no such signal), CRT_ENODRIVER, CRT_ENOMEM, -errno (no descriptors for a
// pipe, say).
// Windows: SIGINT, SIGBREAK, SIGTERM, from the console or by raise().
// Cancel-safe. crt's threads have signals blocked: from inside a task send one by
// kill(getpid(), sig), not by raise(). Under ThreadSanitizer a main thread that sleeps in
// crt_block_on of the multi-thread flavour holds a signal back until it wakes. A pipe stays
// open from the first call to the end of the program. Mirrors signal::unix.
CRTDEF_POLL crt_signal_recv(crt_cx *cx, int sig);
CRTDEF_POLL crt_ctrl_c(crt_cx *cx);   // SIGINT

// ---------------------------------------------------------------------------
// >>api sight     metrics, dump
// ---------------------------------------------------------------------------

// Counters since the runtime began; levels are of now. Names are Tokio's.
typedef struct crt_runtime_metrics {
    uint32_t num_workers, num_blocking_threads, num_idle_blocking_threads, reserved;
    uint64_t num_alive_tasks, spawned_tasks_count;
    uint64_t global_queue_depth, blocking_queue_depth;
    uint64_t remote_schedule_count, budget_forced_yield_count;
    uint64_t io_driver_fd_registered_count, io_driver_fd_deregistered_count;
    uint64_t io_driver_ready_count;
    // sums over the workers
    uint64_t worker_park_count, worker_noop_count, worker_steal_count;
    uint64_t worker_steal_operations, worker_poll_count, worker_local_schedule_count;
    uint64_t worker_overflow_count, worker_busy_ns;
    uint64_t bytes_allocated;   // from the allocator, of this runtime
    uint64_t poll_histogram_count, poll_histogram_ns;   // polls measured, and their sum
    uint32_t poll_histogram_buckets, schedule_histogram_buckets;   // 0: off
    uint64_t schedule_histogram_count, schedule_histogram_ns;   // waits measured, and their sum
    uint64_t worker_park_unpark_count;   // 2 * worker_park_count, less those parked now
} crt_runtime_metrics;
typedef struct crt_worker_metrics {
    uint64_t park_count, noop_count, steal_count, steal_operations, poll_count;   // noops: multi-thread alone
    uint64_t local_schedule_count;   // tasks spawned or woken by others there: not yields
    uint64_t overflow_count, busy_ns, mean_poll_ns;
    uint64_t local_queue_depth;      // multi-thread alone; without pinned tasks
    uint64_t thread_id;
    uint64_t poll_histogram_count, poll_histogram_ns;
    uint64_t schedule_histogram_count, schedule_histogram_ns;
    uint64_t park_unpark_count;   // odd: parked now. Even: not (or, current thread, nobody drives)
} crt_worker_metrics;
// Of the runtime, of one of its workers (from 0). 0, CRT_EINVAL. Any thread.
CRTDEF int crt_metrics(crt_runtime *rt, crt_runtime_metrics *out);
CRTDEF int crt_metrics_worker(crt_runtime *rt, int worker, crt_worker_metrics *out);
// Polls of one worker (-1: of all) that took from `from` up to, not including, `to` ns
// (CRT_FOREVER: the last bucket). Buckets are numbered from 0. 0; CRT_EINVAL: no such worker
// or bucket, or crt_config.poll_histogram is off. Any thread. Mirrors
// RuntimeMetrics::poll_time_histogram_bucket_range and _count.
typedef struct crt_histogram_bucket {
    crt_duration from, to;
    uint64_t count;
} crt_histogram_bucket;
CRTDEF int crt_metrics_poll_bucket(crt_runtime *rt, int worker, int bucket, crt_histogram_bucket *out);
// The same of crt_config.schedule_histogram: how long tasks that one worker polled had
// waited for it, from when they could run: the wake, the spawn, or the end of a poll in which
// they yielded or were woken. Blocking jobs are not counted. Mirrors
// RuntimeMetrics::schedule_latency_histogram_bucket_range and _count.
CRTDEF int crt_metrics_schedule_bucket(crt_runtime *rt, int worker, int bucket, crt_histogram_bucket *out);
// What a build with CRT_ENABLE_TRACE records of a task; times in ns. `total` is since
// it was spawned: busy in polls, scheduled from a wake to the poll, idle the rest; a poll, or
// a wait for one, counts as idle until it has ended (crt_dump says which tasks are running).
// Self-wakes are those made while it was polled, by whoever polled it.
typedef struct crt_task_metrics {
    uint64_t id, polls, wakes, self_wakes;
    crt_duration total, busy, scheduled, idle;
    crt_duration since_wake;   // the last one; CRT_FOREVER if there was none
    const char *spawned_at;    // "file:line"; NULL: by crt_block_on
} crt_task_metrics;
// Of the task with that id (crt_task_id, crt_join_id). Looks through all tasks. 0; CRT_EINVAL;
// -ENOENT: no such task, or it has ended; -ENOTSUP: built without the define;
// CRT_ENOMEM: there was no memory for its record. Any thread.
CRTDEF int crt_metrics_task(crt_runtime *rt, uint64_t id, crt_task_metrics *out);
// All metrics in the text format 0.0.4 of Prometheus, each with HELP and TYPE; those of
// workers with the label worker="0"; times in seconds. 0, CRT_EINVAL, -EIO: not all was
// written. Any thread; workers go on running.
CRTDEF int crt_metrics_prometheus(crt_runtime *rt, FILE *out);
// The same into memory, as snprintf: never more than `size` bytes, the last of which is 0.
// The bytes that all of it takes, without the 0, or CRT_EINVAL. Numbers grow from one
// call to the next: leave room.
CRTDEF int crt_metrics_prometheus_text(crt_runtime *rt, char *text, size_t size);
// A line for each task: id, name, state, file:line and function of its await, what
// it waits on; with CRT_ENABLE_TRACE where it was spawned, its polls, wakes and times
// too. Any thread;
// workers go on running. How many, or CRT_EINVAL.
CRTDEF int crt_dump(crt_runtime *rt, FILE *out);

#ifdef __cplusplus
}   // extern "C"

extern "C++" {   // where somebody includes all of this as C
static inline void crt_close(crt_stream **s) { crt_stream_close(s); }
static inline void crt_close(crt_listener **l) { crt_listener_close(l); }
static inline void crt_close(crt_udp **u) { crt_udp_close(u); }
static inline void crt_close(crt_file **f) { crt_file_close(f); }
static inline void crt_close(crt_dir **d) { crt_dir_close(d); }
static inline void crt_close(crt_process **p) { crt_process_close(p); }
static inline int crt_local_addr(const crt_stream *s, crt_addr *a) { return crt_stream_local_addr(s, a); }
static inline int crt_local_addr(const crt_listener *l, crt_addr *a) { return crt_listener_local_addr(l, a); }
static inline int crt_local_addr(const crt_udp *u, crt_addr *a) { return crt_udp_local_addr(u, a); }
static inline int crt_peer_addr(const crt_stream *s, crt_addr *a) { return crt_stream_peer_addr(s, a); }
static inline int crt_peer_addr(const crt_udp *u, crt_addr *a) { return crt_udp_peer_addr(u, a); }
}
#else
// Closes and sets the pointer to NULL; accepts a pointer to NULL. A task that
// waits on what is closed gets CRT_ECLOSED.
#define crt_close(x)                                                                       \
    _Generic((x), crt_stream **: crt_stream_close, crt_listener **: crt_listener_close,    \
             crt_udp **: crt_udp_close, crt_file **: crt_file_close, crt_dir **: crt_dir_close,   \
             crt_process **: crt_process_close)(x)
#define crt_local_addr(x, a)                                                               \
    _Generic((x), crt_stream *: crt_stream_local_addr, const crt_stream *: crt_stream_local_addr, \
             crt_listener *: crt_listener_local_addr, crt_udp *: crt_udp_local_addr,       \
             const crt_udp *: crt_udp_local_addr,                                          \
             const crt_listener *: crt_listener_local_addr)((x), (a))
#define crt_peer_addr(x, a)                                                                \
    _Generic((x), crt_stream *: crt_stream_peer_addr, const crt_stream *: crt_stream_peer_addr, \
             crt_udp *: crt_udp_peer_addr, const crt_udp *: crt_udp_peer_addr)((x), (a))
#endif

#endif   // CRT_H

// ===========================================================================
//                             IMPLEMENTATION
// ===========================================================================
#if defined(CRT_IMPLEMENTATION) && !defined(CRT__IMPLEMENTED)
#define CRT__IMPLEMENTED

#ifdef __cplusplus
#error "compile the one file that defines CRT_IMPLEMENTATION as C; files in C++ just include crt.h"
#elif !defined(_MSC_VER) && (!defined(__STDC_VERSION__) || __STDC_VERSION__ < 201112L)
#error "crt's implementation is C11: compile the file that defines CRT_IMPLEMENTATION with -std=c11 or newer"
#endif
#ifdef _MSC_VER   // strerror, getenv: it would rather have others, and /sdl makes errors of such warnings
#pragma warning(push)
#pragma warning(disable : 4996)
#endif
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#if (defined(CRT_MALLOC) && !defined(CRT_FREE)) || (!defined(CRT_MALLOC) && defined(CRT_FREE))
#error "define both CRT_MALLOC(size) and CRT_FREE(ptr), or neither"
#endif
#ifndef CRT_MALLOC
#define CRT_MALLOC(size) malloc(size)
#define CRT_FREE(ptr) free(ptr)
#endif
// CRT__BARE: no operating system either. A test on one defines it.
#if defined(CRT_NO_THREADS) && !defined(__unix__) && !defined(__APPLE__) && !defined(_WIN32) && !defined(CRT__BARE)
#define CRT__BARE
#endif
#ifdef CRT__BARE
#ifndef CRT_PLATFORM_HEADER
#error "without an operating system crt needs CRT_PLATFORM_HEADER, a header of yours: see BARE METAL"
#endif
#ifndef CRT_NO_NET
#define CRT_NO_NET
#endif
#ifndef CRT_NO_FS
#define CRT_NO_FS
#endif
#endif
// In conditions, so that the compiler leaves out what needs threads and finds nothing unused.
#ifdef CRT_NO_THREADS
#define CRT__THREADS 0
#else
#define CRT__THREADS 1
#endif
#if defined(CRT_NO_NET) && !defined(CRT_NO_PROCESS)
#define CRT_NO_PROCESS   // the pipes of a process are streams
#endif
#ifdef CRT_STATIC   // crt_close chooses among them all, so a static one has to be there
#ifdef CRT_NO_NET
CRTDEF void crt_stream_close(crt_stream **s) { *s = NULL; }
CRTDEF void crt_listener_close(crt_listener **l) { *l = NULL; }
CRTDEF void crt_udp_close(crt_udp **u) { *u = NULL; }
#endif
#ifdef CRT_NO_FS
CRTDEF void crt_file_close(crt_file **f) { *f = NULL; }
CRTDEF void crt_dir_close(crt_dir **d) { *d = NULL; }
#endif
#ifdef CRT_NO_PROCESS
CRTDEF void crt_process_close(crt_process **p) { *p = NULL; }
#endif
#endif
#ifndef CRT_ASSERT
#include <assert.h>
#define CRT_ASSERT(c) assert(c)
#endif

// ---------------------------------------------------------------------------
// >>atomics       the only door to shared memory
// ---------------------------------------------------------------------------
// Everything that two threads touch without a lock goes through these macros, on
// plain integers and pointers. A test may replace them (CRT_ATOMICS_HEADER) to
// explore interleavings. Publishing is always a release store or a read-modify-
// write, never a fence plus a relaxed store: sanitizers see the former only.

#ifdef CRT_NO_THREADS
// One thread, and interrupts. A handler is to crt what another thread is elsewhere, but one
// that runs to its end once it has begun: it must find nothing to wait for. So what has to be
// in one piece is done with interrupts off, whatever its size: no instruction for atomics is
// needed.
#ifdef CRT__BARE
static inline uint32_t crt__interrupts_off(void);   // nests: it gives what they were, and
static inline void crt__interrupts_on(uint32_t were);   // this sets them back to that
#else   // signals are >>signal's alone, whose handler stores one word
static inline uint32_t crt__interrupts_off(void) { return 0; }
static inline void crt__interrupts_on(uint32_t were) { (void)were; }
#endif
#endif
#ifdef CRT_ATOMICS_HEADER
#include CRT_ATOMICS_HEADER
#elif defined(CRT_NO_THREADS) && (defined(__GNUC__) || defined(__TINYC__))
// A processor sees its own accesses in order; only the compiler has to be held back. Where
// words are smaller than 64 bits, loads and stores of those are in one piece in the same way.
enum { CRT__RELAXED, CRT__ACQUIRE, CRT__RELEASE, CRT__ACQ_REL, CRT__SEQ_CST };
static inline void crt__plain_barrier(void) { __asm__ volatile("" ::: "memory"); }
#define crt__plain_at(p) (*(volatile __typeof__(*(p)) *)(p))
// Calls nest: the names in each are its own.
#define crt__plain_join_(a, b) a##b
#define crt__plain_join(a, b) crt__plain_join_(a, b)
#define crt__plain_name crt__plain_join(crt__plain_, __COUNTER__)
#define crt__plain_halves(p) (sizeof(*(p)) > sizeof(void *))
#define crt__plain_load(p, is, were)                                                       \
    __extension__({                                                                        \
        uint32_t were = crt__plain_halves(p) ? crt__interrupts_off() : 0;                  \
        __typeof__(*(p)) is = *(const volatile __typeof__(*(p)) *)(p);                     \
        if (crt__plain_halves(p)) crt__interrupts_on(were);                                \
        crt__plain_barrier();                                                              \
        is;                                                                                \
    })
#define crt__plain_store(p, v, by, were)                                                   \
    __extension__({                                                                        \
        __typeof__(*(p)) by = (__typeof__(*(p)))(v);                                       \
        crt__plain_barrier();                                                              \
        uint32_t were = crt__plain_halves(p) ? crt__interrupts_off() : 0;                  \
        crt__plain_at(p) = by;                                                             \
        if (crt__plain_halves(p)) crt__interrupts_on(were);                                \
        (void)0;                                                                           \
    })
#define crt__plain_change(p, v, to, at, by, was, were)                                     \
    __extension__({                                                                        \
        __typeof__(p) at = (p);                                                            \
        __typeof__(*(p)) by = (__typeof__(*(p)))(v);                                       \
        uint32_t were = crt__interrupts_off();                                             \
        __typeof__(*(p)) was = crt__plain_at(at);                                          \
        crt__plain_at(at) = (__typeof__(*(p)))to(was, by);                                 \
        crt__interrupts_on(were);                                                          \
        crt__plain_barrier();                                                              \
        was;                                                                               \
    })
#define crt__plain_swap(p, expected, desired, at, ex, by, was, were, same)                 \
    __extension__({                                                                        \
        __typeof__(p) at = (p);                                                            \
        __typeof__(expected) ex = (expected);                                              \
        __typeof__(*(p)) by = (__typeof__(*(p)))(desired);                                 \
        uint32_t were = crt__interrupts_off();                                             \
        __typeof__(*(p)) was = crt__plain_at(at);                                          \
        bool same = was == *ex;                                                            \
        if (same) crt__plain_at(at) = by;                                                  \
        crt__interrupts_on(were);                                                          \
        crt__plain_barrier();                                                              \
        *ex = was;                                                                         \
        same;                                                                              \
    })
#define crt__plain_rmw(p, v, to)                                                           \
    crt__plain_change(p, v, to, crt__plain_name, crt__plain_name, crt__plain_name, crt__plain_name)
#define crt__plain_new(was, by) (by)
#define crt__plain_add(was, by) ((was) + (by))
#define crt__plain_sub(was, by) ((was) - (by))
#define crt__plain_or(was, by) ((was) | (by))
#define crt__plain_and(was, by) ((was) & (by))
#define crt__atomic_load(p, order) crt__plain_load(p, crt__plain_name, crt__plain_name)
#define crt__atomic_store(p, v, order) crt__plain_store(p, v, crt__plain_name, crt__plain_name)
#define crt__atomic_xchg(p, v, order) crt__plain_rmw(p, v, crt__plain_new)
#define crt__atomic_add(p, v, order) crt__plain_rmw(p, v, crt__plain_add)
#define crt__atomic_sub(p, v, order) crt__plain_rmw(p, v, crt__plain_sub)
#define crt__atomic_or(p, v, order) crt__plain_rmw(p, v, crt__plain_or)
#define crt__atomic_and(p, v, order) crt__plain_rmw(p, v, crt__plain_and)
#define crt__atomic_cas(p, expected, desired, ok, fail)                                    \
    crt__plain_swap(p, expected, desired, crt__plain_name, crt__plain_name, crt__plain_name, \
                    crt__plain_name, crt__plain_name, crt__plain_name)
#define crt__atomic_cas_weak crt__atomic_cas
#define crt__atomic_fence(order) crt__plain_barrier()
#define crt__cpu_relax() crt__plain_barrier()
#elif (defined(_MSC_VER) && !defined(__clang__)) || defined(CRT__MSVC_ATOMICS) || defined(__TINYC__)
// CRT__MSVC_ATOMICS: tests, with others. Every read-modify-write is a full barrier here; a
// load is one of the processor and a barrier to the compiler, on ARM64 also to the processor.
#define CRT__RELAXED 0
#define CRT__ACQUIRE 1
#define CRT__RELEASE 2
#define CRT__ACQ_REL 3
#define CRT__SEQ_CST 4
#ifdef __TINYC__
// tcc has no atomics (0.9.27), but an assembler. It moves no access over another, and on
// x86-64 the processor only loads before stores.
#if !defined(__x86_64__) || defined(_WIN32)
#error "crt's implementation with tcc: only for x86-64, not for Windows; compile this one file with gcc or clang"
#endif
#define crt__ms_barrier() ((void)0)
#define crt__atomic_fence(order) crt__ms_fence()
static inline void crt__ms_fence(void) { __asm__ volatile("mfence" ::: "memory"); }
static inline void crt__cpu_relax(void) { __asm__ volatile("rep; nop" ::: "memory"); }
static inline uint32_t crt__ms_cas_32(volatile uint32_t *p, uint32_t to, uint32_t was)
{
    __asm__ volatile("lock; cmpxchgl %2, %1" : "=a"(was), "+m"(*p) : "r"(to), "0"(was) : "memory");
    return was;
}
static inline uint64_t crt__ms_cas_64(volatile uint64_t *p, uint64_t to, uint64_t was)
{
    __asm__ volatile("lock; cmpxchgq %2, %1" : "=a"(was), "+m"(*p) : "r"(to), "0"(was) : "memory");
    return was;
}
static inline uint32_t crt__ms_xchg_32(volatile uint32_t *p, uint32_t v)
{
    __asm__ volatile("xchgl %0, %1" : "+r"(v), "+m"(*p) : : "memory");
    return v;
}
static inline uint64_t crt__ms_xchg_64(volatile uint64_t *p, uint64_t v)
{
    __asm__ volatile("xchgq %0, %1" : "+r"(v), "+m"(*p) : : "memory");
    return v;
}
static inline uint32_t crt__ms_add_32(volatile uint32_t *p, uint32_t v)
{
    __asm__ volatile("lock; xaddl %0, %1" : "+r"(v), "+m"(*p) : : "memory");
    return v;
}
static inline uint64_t crt__ms_add_64(volatile uint64_t *p, uint64_t v)
{
    __asm__ volatile("lock; xaddq %0, %1" : "+r"(v), "+m"(*p) : : "memory");
    return v;
}
#else   // Visual Studio 2022 17.9 or newer (__typeof__)
#include <intrin.h>
#define crt__ms_cas_32(p, to, was)                                                         \
    ((uint32_t)_InterlockedCompareExchange((volatile long *)(p), (long)(to), (long)(was)))
#define crt__ms_cas_64(p, to, was)                                                         \
    ((uint64_t)_InterlockedCompareExchange64((volatile __int64 *)(p), (__int64)(to), (__int64)(was)))
#define crt__ms_xchg_32(p, v) ((uint32_t)_InterlockedExchange((volatile long *)(p), (long)(v)))
#define crt__ms_add_32(p, v) ((uint32_t)_InterlockedExchangeAdd((volatile long *)(p), (long)(v)))
#define crt__ms_xchg_64(p, v) ((uint64_t)_InterlockedExchange64((volatile __int64 *)(p), (__int64)(v)))
#define crt__ms_add_64(p, v) ((uint64_t)_InterlockedExchangeAdd64((volatile __int64 *)(p), (__int64)(v)))
#if defined(_M_ARM64) || defined(_M_ARM64EC)
#define crt__ms_barrier() __dmb(0xB)
#define crt__cpu_relax() __yield()
#define crt__atomic_fence(order) ((void)(order), __dmb(0xB))
#else
#define crt__ms_barrier() _ReadWriteBarrier()
#define crt__cpu_relax() _mm_pause()
#define crt__atomic_fence(order) ((void)(order), _mm_mfence())
#endif
#endif
#if defined(_WIN64) || defined(__LP64__)
#define CRT__MS_64
#endif
static inline bool crt__ms_cas64(volatile void *p, uint64_t *expected, uint64_t desired, size_t size)
{
    uint64_t is, was = *expected;
    if (size == 8) is = crt__ms_cas_64((volatile uint64_t *)p, desired, was);
    else is = crt__ms_cas_32((volatile uint32_t *)p, (uint32_t)desired, (uint32_t)was);
    if (is == was) return true;
    *expected = is;
    return false;
}
static inline uint64_t crt__ms_load(const volatile void *p, size_t size)
{
    uint64_t v;
    if (size == 4) v = *(const volatile uint32_t *)p;
    else if (size == 1) v = *(const volatile uint8_t *)p;
#ifdef CRT__MS_64
    else v = *(const volatile uint64_t *)p;
#else
    else crt__ms_cas64((volatile void *)p, (v = 0, &v), 0, 8);
#endif
    crt__ms_barrier();
    return v;
}
enum { CRT__MS_XCHG, CRT__MS_ADD, CRT__MS_OR, CRT__MS_AND };
static inline uint64_t crt__ms_change(volatile void *p, uint64_t v, size_t size, int how)
{
    uint64_t was = crt__ms_load(p, size), mask = size == 8 ? UINT64_MAX : ((uint64_t)1 << size * 8) - 1, to;
    v &= mask;
    if (size == 4 && how == CRT__MS_XCHG) return crt__ms_xchg_32((volatile uint32_t *)p, (uint32_t)v);
    if (size == 4 && how == CRT__MS_ADD) return crt__ms_add_32((volatile uint32_t *)p, (uint32_t)v);
#ifdef CRT__MS_64
    if (size == 8 && how == CRT__MS_XCHG) return crt__ms_xchg_64((volatile uint64_t *)p, v);
    if (size == 8 && how == CRT__MS_ADD) return crt__ms_add_64((volatile uint64_t *)p, v);
#endif
    do to = how == CRT__MS_XCHG ? v : how == CRT__MS_ADD ? (was + v) & mask : how == CRT__MS_OR ? was | v : was & v;
    while (!crt__ms_cas64(p, &was, to, size));
    return was;
}
static inline void crt__ms_store(volatile void *p, uint64_t v, size_t size, int order)
{
    if (order == CRT__SEQ_CST || (size == 8 && sizeof(void *) < 8)) {
        (void)crt__ms_change(p, v, size, CRT__MS_XCHG);
        return;
    }
    crt__ms_barrier();
    if (size == 4) *(volatile uint32_t *)p = (uint32_t)v;
    else if (size == 1) *(volatile uint8_t *)p = (uint8_t)v;
    else *(volatile uint64_t *)p = v;
}
static inline bool crt__ms_cas(volatile void *p, void *expected, uint64_t desired, size_t size)
{
    uint64_t was = crt__ms_load(expected, size), mask = size == 8 ? UINT64_MAX : ((uint64_t)1 << size * 8) - 1;
    if (crt__ms_cas64(p, &was, desired & mask, size)) return true;
    memcpy(expected, &was, size);   // little-endian, as Windows always is, and x86
    return false;
}
#define crt__ms_as(p, v) ((__typeof__(*(p)))(v))
#define crt__atomic_load(p, order) crt__ms_as(p, crt__ms_load((p), sizeof *(p)))
#define crt__atomic_store(p, v, order) crt__ms_store((p), (uint64_t)crt__ms_as(p, v), sizeof *(p), (order))
#define crt__ms_rmw(p, v, how) crt__ms_as(p, crt__ms_change((p), (uint64_t)(v), sizeof *(p), (how)))
#define crt__atomic_xchg(p, v, order) crt__ms_rmw(p, crt__ms_as(p, v), CRT__MS_XCHG)
#define crt__atomic_add(p, v, order) crt__ms_rmw(p, v, CRT__MS_ADD)
#define crt__atomic_sub(p, v, order) crt__ms_rmw(p, 0 - (uint64_t)(v), CRT__MS_ADD)
#define crt__atomic_or(p, v, order) crt__ms_rmw(p, v, CRT__MS_OR)
#define crt__atomic_and(p, v, order) crt__ms_rmw(p, v, CRT__MS_AND)
#define crt__atomic_cas(p, expected, desired, ok, fail)                                    \
    crt__ms_cas((p), (expected), (uint64_t)crt__ms_as(p, desired), sizeof *(p))
#define crt__atomic_cas_weak crt__atomic_cas
#else
#define CRT__RELAXED __ATOMIC_RELAXED
#define CRT__ACQUIRE __ATOMIC_ACQUIRE
#define CRT__RELEASE __ATOMIC_RELEASE
#define CRT__ACQ_REL __ATOMIC_ACQ_REL
#define CRT__SEQ_CST __ATOMIC_SEQ_CST
#define crt__atomic_load(p, order) __atomic_load_n((p), (order))
#define crt__atomic_store(p, v, order) __atomic_store_n((p), (v), (order))
#define crt__atomic_xchg(p, v, order) __atomic_exchange_n((p), (v), (order))
#define crt__atomic_add(p, v, order) __atomic_fetch_add((p), (v), (order))
#define crt__atomic_sub(p, v, order) __atomic_fetch_sub((p), (v), (order))
#define crt__atomic_or(p, v, order) __atomic_fetch_or((p), (v), (order))
#define crt__atomic_and(p, v, order) __atomic_fetch_and((p), (v), (order))
#define crt__atomic_cas(p, expected, desired, ok, fail)                                    \
    __atomic_compare_exchange_n((p), (expected), (desired), false, (ok), (fail))
#define crt__atomic_cas_weak(p, expected, desired, ok, fail)                               \
    __atomic_compare_exchange_n((p), (expected), (desired), true, (ok), (fail))
// ThreadSanitizer does not model fences and gcc says so (-Wtsan); every fence
// here orders a store before a load of another word (sleep against wake), which
// needs no data to be published.
#if defined(__SANITIZE_THREAD__)
static uint32_t crt__fence_word;
#define crt__atomic_fence(order) ((void)__atomic_fetch_add(&crt__fence_word, 1, __ATOMIC_SEQ_CST))
#else
#define crt__atomic_fence(order) __atomic_thread_fence(order)
#endif
#if defined(__x86_64__) || defined(__i386__)
#define crt__cpu_relax() __builtin_ia32_pause()
#elif defined(__aarch64__) || defined(__arm__)
#define crt__cpu_relax() __asm__ volatile("yield" ::: "memory")
#else
#define crt__cpu_relax() __asm__ volatile("" ::: "memory")
#endif
#endif

// Zeros above the highest bit that is set, and below the lowest; of 0 nothing is said.
#if defined(_MSC_VER) && !defined(__clang__)
static inline uint32_t crt__clz32(uint32_t x)
{
    unsigned long at;
    _BitScanReverse(&at, x);
    return 31 - at;
}
static inline uint32_t crt__clz64(uint64_t x)
{
    return x >> 32 ? crt__clz32((uint32_t)(x >> 32)) : 32 + crt__clz32((uint32_t)x);
}
static inline uint32_t crt__ctz64(uint64_t x)
{
    unsigned long at;
    if ((uint32_t)x) return _BitScanForward(&at, (uint32_t)x), at;
    return _BitScanForward(&at, (uint32_t)(x >> 32)), 32 + at;
}
#elif defined(__TINYC__)
static inline uint32_t crt__clz64(uint64_t x)
{
    __asm__("bsrq %1, %0" : "=r"(x) : "r"(x));
    return 63 - (uint32_t)x;
}
static inline uint32_t crt__ctz64(uint64_t x)
{
    __asm__("bsfq %1, %0" : "=r"(x) : "r"(x));
    return (uint32_t)x;
}
static inline uint32_t crt__clz32(uint32_t x) { return crt__clz64(x) - 32; }
#else
CRT__UNUSED static inline uint32_t crt__clz32(uint32_t x) { return (uint32_t)__builtin_clz(x); }
static inline uint32_t crt__clz64(uint64_t x) { return (uint32_t)__builtin_clzll(x); }
static inline uint32_t crt__ctz64(uint64_t x) { return (uint32_t)__builtin_ctzll(x); }
#endif

// Words of 64 bits that threads share. 32-bit x86 would place them at multiples of 4, where
// one may lie across two cache lines: then a plain load is not atomic, a locked one slow.
#if defined(__GNUC__) || defined(__TINYC__)
typedef uint64_t crt__u64 __attribute__((aligned(8)));
typedef int64_t crt__i64 __attribute__((aligned(8)));
#else
typedef uint64_t crt__u64;
typedef int64_t crt__i64;
#endif

// What elements of any type may stand on. MSVC's C library has max_align_t for C++ only.
#if defined(_MSC_VER) && !defined(__clang__)
typedef double crt__aligned;
#else
typedef max_align_t crt__aligned;
#endif

// A counter that one thread writes and others read.
#define crt__count(p, n)                                                                   \
    crt__atomic_store((p), crt__atomic_load((p), CRT__RELAXED) + (n), CRT__RELAXED)

#define CRT__CACHE_LINE (CRT__THREADS ? 64 : 32)   // what is apart for others' sake; 32 is the least
#define crt__container(ptr, type, member)                                                  \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
// What they are handed is evaluated twice: nothing that another thread or the clock changes meanwhile.
#define crt__min(a, b) ((a) < (b) ? (a) : (b))
#define crt__max(a, b) ((a) > (b) ? (a) : (b))
// Bytes of one transfer: what a slot counts in 32 bits, and a result can say.
#define CRT__MOST_BYTES ((size_t)crt__min((uint64_t)UINT32_MAX, (uint64_t)INTPTR_MAX))

#ifdef CRT_TEST_HOOK   // tests look into the runtime's critical moments
#define CRT__AT(place) CRT_TEST_HOOK(place)
#else
#define CRT__AT(place) ((void)0)
#endif

// ---------------------------------------------------------------------------
// >>os            threads, clock, futex: the contract with the platform header
// ---------------------------------------------------------------------------
// POSIX parts are here; what differs (futex, CPU count, descriptors) is in the
// platform header, which is included further down under >>reactor.
// Without an operating system (CRT__BARE) it is the user's, and defines, besides
// crt__interrupts_off and _on of >>atomics, the four that say "bare" below, and crt__log_line of >>log.

#if defined(CRT__BARE)
typedef int crt__thread;
#elif defined(_WIN32)
#if defined(_WINSOCKAPI_) && !defined(_WINSOCK2API_)
#error "where CRT_IMPLEMENTATION is defined, include crt.h before windows.h"
#endif
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <winsock2.h>
#include <ws2tcpip.h>
#include <windows.h>
#include <signal.h>
typedef HANDLE crt__thread;
#else
#if defined(__GLIBC__) && !defined(__USE_GNU)
// A system header came before crt.h, without the names that crt needs.
#error "where CRT_IMPLEMENTATION is defined, include crt.h first or compile with -D_GNU_SOURCE"
#endif
#if defined(__GLIBC__) && !defined(__USE_FILE_OFFSET64) && ULONG_MAX <= 0xffffffff
#error "where CRT_IMPLEMENTATION is defined, include crt.h first or compile with -D_FILE_OFFSET_BITS=64"
#endif
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>
typedef pthread_t crt__thread;
#endif

#if CRT__THREADS && !defined(__TINYC__)   // which has none, see >>structs
#define CRT__TLS _Thread_local
#endif

// Blocks while *addr == expected, until woken, or timeout_ns have passed (< 0:
// no limit). 0, or nonzero on time-out. May return early: check again.
// Bare: this is where the processor sleeps. It looks at *addr with interrupts off and goes
// to sleep in the same breath: a handler that changes *addr has to end the sleep.
#ifndef CRT__FUTEX_OVERRIDE
static int crt__futex_wait(uint32_t *addr, uint32_t expected, int64_t timeout_ns);
static void crt__futex_wake(uint32_t *addr, int how_many);   // bare: from handlers
#endif
#ifdef CRT__BARE
static inline bool crt__in_interrupt(void);   // bare: a handler runs
#endif
// CPUs this process may use: affinity mask and cgroup quota. At least 1.
static int crt__cpu_count(void);
// The kernel's number for this thread.
static uint64_t crt__thread_number(void);
static void crt__thread_set_name(const char *name);

// Monotonic nanoseconds; they do not count while the machine sleeps (on Windows they do). Bare: handlers
// call it where it is measured when tasks are woken.
static int64_t crt__clock(void);
// A thread that takes no signals; stack 0: the system's usual size. 0 or -errno. It ends
// with fn, and then one join or detach is due, by the handle or by what self gave in it.
static int crt__thread_start(crt__thread *thread, void *(*fn)(void *), void *arg, size_t stack);
static void crt__thread_join(crt__thread thread);
static void crt__thread_detach(crt__thread thread);
static crt__thread crt__thread_self(void);
// Tells a child of fork from its parent.
static int64_t crt__process_number(void);

#ifdef CRT__BARE
static inline int crt__cpu_count(void) { return 1; }
static inline uint64_t crt__thread_number(void) { return 1; }
static inline void crt__thread_set_name(const char *name) { (void)name; }
static int64_t crt__process_number(void) { return 0; }   // there is no fork
#elif !defined(_WIN32)
#ifdef __APPLE__
#define CRT__CLOCK CLOCK_UPTIME_RAW   // there, CLOCK_MONOTONIC does, in whole microseconds
#else
#define CRT__CLOCK CLOCK_MONOTONIC
#endif
static int64_t crt__clock(void)
{
    struct timespec t;
    clock_gettime(CRT__CLOCK, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

#if CRT__THREADS
static CRT__COLD int crt__thread_start(crt__thread *thread, void *(*fn)(void *), void *arg, size_t stack)
{
    pthread_attr_t attr;
    sigset_t all, old;
    int e = pthread_attr_init(&attr);
    if (e) return -e;
    if (stack) {
        long least = sysconf(_SC_THREAD_STACK_MIN);   // 16 KB on x86, 128 KB on ARM64 and POWER
        if (least > 0) stack = crt__max(stack, (size_t)least);
        e = pthread_attr_setstacksize(&attr, (stack + 16383) / 16384 * 16384);   // whole pages
    }
    if (!e) {
        // Signals are for the program's own threads, not for ours, but what a thread does to
        // itself: a fault has its handler here as anywhere.
        static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
        sigfillset(&all);
        for (size_t i = 0; i < sizeof own / sizeof *own; i++) sigdelset(&all, own[i]);
        pthread_sigmask(SIG_BLOCK, &all, &old);
        e = pthread_create(thread, &attr, fn, arg);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    pthread_attr_destroy(&attr);
    return -e;
}
static void crt__thread_join(crt__thread thread) { pthread_join(thread, NULL); }
static void crt__thread_detach(crt__thread thread) { pthread_detach(thread); }
static crt__thread crt__thread_self(void) { return pthread_self(); }
#endif
static int64_t crt__process_number(void) { return getpid(); }
#endif
#if !CRT__THREADS && !defined(_WIN32)
static int crt__thread_start(crt__thread *thread, void *(*fn)(void *), void *arg, size_t stack)
{
    (void)thread, (void)fn, (void)arg, (void)stack;
    return -ENOTSUP;
}
static void crt__thread_join(crt__thread thread) { (void)thread; }
static void crt__thread_detach(crt__thread thread) { (void)thread; }
static crt__thread crt__thread_self(void) { return (crt__thread)0; }
#endif

// Sleeps for some 50 us, for whoever has to let a thread go on that was interrupted.
#ifndef crt__nap   // models have their own
CRT__UNUSED static void crt__nap(void);
#ifndef _WIN32   // whose waits on a word are counted in clock ticks
static CRT__COLD void crt__nap(void)
{
    uint32_t nobody_wakes = 0;
    crt__futex_wait(&nobody_wakes, 0, 50000);
}
#endif
#endif

// A lock of four bytes: 0 free, 1 held. Held for a few instructions; over a callback only
// where its declaration says so (watch, crt_allocator). All-zero is ready.
//   acquire on taking, release on letting go: what one holder wrote the next sees.
// Letting go is a plain store, at half the price of an exchange that would ask for
// sleepers. So nobody is woken: who waits looks again, and if that lasts the holder has
// been interrupted, and it naps between the looks.
#ifndef CRT__LOCK_SPINS
#define CRT__LOCK_SPINS 100
#endif
// Without threads: interrupts are off while any lock is held, so that a handler finds none
// held. They may be let go of in any order; the last sets interrupts back.
#if !CRT__THREADS
static uint32_t crt__locks_held, crt__interrupts_were;
static inline void crt__lock(uint32_t *lock)
{
    uint32_t were = crt__interrupts_off();
    if (!crt__locks_held++) crt__interrupts_were = were;
    crt__atomic_store(lock, 1, CRT__RELAXED);
    crt__atomic_fence(CRT__ACQUIRE);
}
static inline bool crt__try_lock(uint32_t *lock) { return crt__lock(lock), true; }
static inline void crt__unlock(uint32_t *lock)
{
    crt__atomic_store(lock, 0, CRT__RELEASE);
    if (!--crt__locks_held) crt__interrupts_on(crt__interrupts_were);
}
#else
static CRT__COLD void crt__lock_slow(uint32_t *lock)
{
    for (;; crt__nap())
        // Less and less often: each look takes the line away from whoever wants to let go.
        for (int i = 0, pause = 1; i < CRT__LOCK_SPINS; i += pause, pause = crt__min(2 * pause, 16)) {
            uint32_t free_ = 0;
            if (crt__atomic_load(lock, CRT__RELAXED) == 0 &&
                crt__atomic_cas_weak(lock, &free_, 1, CRT__ACQUIRE, CRT__RELAXED))
                return;
            for (int k = 0; k < pause; k++) crt__cpu_relax();
        }
}
static inline void crt__lock(uint32_t *lock)
{
    uint32_t free_ = 0;
    if (CRT__UNLIKELY(!crt__atomic_cas(lock, &free_, 1, CRT__ACQUIRE, CRT__RELAXED)))
        crt__lock_slow(lock);
}
static inline bool crt__try_lock(uint32_t *lock)
{
    uint32_t free_ = 0;
    return crt__atomic_load(lock, CRT__RELAXED) == 0 &&
           crt__atomic_cas(lock, &free_, 1, CRT__ACQUIRE, CRT__RELAXED);
}
static inline void crt__unlock(uint32_t *lock) { crt__atomic_store(lock, 0, CRT__RELEASE); }
#endif
// Waits until a holder whose work we have seen a part of has let go: we read the
// lock after that, so a free lock means that this holder, or a later one, left.
static inline void crt__lock_pass(uint32_t *lock)
{
    if (CRT__LIKELY(crt__atomic_load(lock, CRT__ACQUIRE) == 0)) return;
    crt__lock(lock);
    crt__unlock(lock);
}
// Counts up a number of handles that stays 0 once it is 0. False: it is.
static inline bool crt__count_up_unless_zero(uint32_t *count)
{
    uint32_t n = crt__atomic_load(count, CRT__RELAXED);
    while (n)
        if (crt__atomic_cas_weak(count, &n, n + 1, CRT__ACQUIRE, CRT__RELAXED)) return true;
    return false;
}

// ---------------------------------------------------------------------------
// >>structs       the runtime, a worker, a task
// ---------------------------------------------------------------------------
// What several threads touch says "atomic", or under which lock; the rest has one owner at a time.

// A leaf operation: how to take its node back when the wait is cut short.
typedef struct crt__op {
    const char *name;                 // for dumps
    void (*cancel)(crt_slot *slot);   // unlink; pass on what was granted
} crt__op;

typedef struct crt_task crt_task;
typedef struct crt__worker crt__worker;

// What few tasks need hangs off the task in a list.
typedef struct crt__ext {
    struct crt__ext *next;
    uint32_t kind, size;
} crt__ext;
enum { CRT__EXT_NAME, CRT__EXT_PANIC, CRT__EXT_SIGNAL, CRT__EXT_LOCAL, CRT__EXT_TRACE };

// Memory for tasks of one size. Chunks live as long as the runtime, so that the
// dump and the shutdown can walk over them while tasks come and go.
typedef struct crt__chunk {
    crt_runtime *rt;
    struct crt__chunk *next, *prev;
    uint32_t class_, stride;    // size class; bytes between two tasks
    uint32_t count, carved;     // room for; handed out so far (only grows)
} crt__chunk;

struct crt_task {
    uint32_t state;       // atomic: see >>task
    uint32_t flags;       // CRT__TASK_*: changed by whoever runs it, joins it (SEEN), or ends it in a shutdown
    union {
        crt_task *next;       // atomic: while in a run queue, or a free list
        const crt_site *site; // atomic: while it sits idle: where it is parked
    };
    crt_fn fn;
    crt__chunk *home;     // whose memory this is; leads to the runtime
    uintptr_t join;       // atomic: see >>task
    crt__ext *ext;        // atomic head
    crt__group *groups;   // selects and timers that are active in the frame
    uint64_t id;
    union {
        crt_slot slot;      // while it lives
        crt_poll result;    // once it is complete
    } u;
    // a crt__member, if it belongs to a group, and the frame follow
};
// A task's place in its group: see >>groups.
typedef struct crt__member {
    crt__crew *crew;
    struct crt__member *next, *prev;   // among the live or the done; under the crew's lock
    struct crt__member *chain;         // in a bucket of a join map
    uint64_t key;
    uint32_t state, reserved;
} crt__member;
_Static_assert(sizeof(crt__member) % 16 == 0, "frames are 16-aligned");
// The first task of a chunk begins so that its frame, and with strides of 16 every
// frame, is 16-aligned where the allocator's memory is (malloc's on ARM of 32 bits is
// 8-aligned, which is all that its types ask for).
enum { CRT__CHUNK_HEAD = (sizeof(crt__chunk) + 15) / 16 * 16 + (16 - sizeof(crt_task) % 16) % 16 };
_Static_assert(CRT__CHUNK_HEAD + sizeof(crt_task) <= CRT__TASK_HEADER,
               "CRT_TASK_STORAGE is too small");
// The last bytes of a task's memory, behind its frame, in a runtime that has task hooks or
// measures how long tasks wait: as members of crt_task they would cost every task of every
// program 16 bytes. Plain: used by whoever owns ACTIVE, which is handed on with the task.
typedef struct crt__record {
    int64_t ready;            // CRT__TASK_TIMED: crt__clock() since which it could run
    const char *spawned_at;
} crt__record;
_Static_assert(CRT__CHUNK_HEAD + sizeof(crt_task) + sizeof(crt__member) + sizeof(crt__record) <= CRT__TASK_HEADER,
               "CRT_TASK_STORAGE has room for it, in a local set too");

// Singly linked list of tasks through `next`, for one thread.
typedef struct crt__list {
    crt_task *head, *tail;
} crt__list;

// Intrusive queue, many producers, one consumer at a time; see >>run queue.
typedef struct crt__inject {
    crt_task *tail;   // atomic, where producers push
    size_t length;    // atomic, never less than what is linked
    char pad[CRT__CACHE_LINE - sizeof(void *) - sizeof(size_t)];
    crt_task *head;   // the consumer's end, under lock
    uint32_t lock;
    crt_task dummy;
} crt__inject;

#ifndef CRT__RING
#define CRT__RING 256   // a power of two; models take less
#endif
typedef struct crt__ring {
    crt__u64 head;    // atomic: steal index << 32 | real index
    char pad[CRT__CACHE_LINE - 8];
    uint32_t tail;    // atomic, written by the owner only
    crt_task *slots[CRT__RING];   // atomic
} crt__ring;

enum { CRT__WHEEL_LEVELS = 6, CRT__WHEEL_SLOTS = 64 };
typedef struct crt__wheel {
    uint32_t lock;
    uint64_t elapsed;   // ticks that have been processed
    crt__u64 next;      // atomic: tick of the next event, UINT64_MAX if none
    uint64_t occupied[CRT__WHEEL_LEVELS];
    crt_slot *slots[CRT__WHEEL_LEVELS][CRT__WHEEL_SLOTS];
    crt_slot *fresh;         // the owner's: set in the poll that goes on, not in the wheel yet
    crt_instant fresh_now;   // when the last of them was
} crt__wheel;

enum { CRT__CLASSES = 72 };
typedef struct crt__cache {
    crt_task *list;
    uint32_t count;
} crt__cache;

// A histogram: how its buckets lie (from crt_config), and what one worker has counted.
enum { CRT__POLL_TIMES, CRT__SCHEDULE_TIMES, CRT__HISTOGRAMS };
typedef struct crt__scale {
    int kind, buckets;
    crt_duration resolution;
} crt__scale;
typedef struct crt__tally {
    crt__u64 ns;         // the sum
    crt__u64 *buckets;   // NULL: off
} crt__tally;

struct crt__worker {
    // what thieves read
    crt_runtime *rt;
    crt__ring *ring;          // multi-thread
    uint32_t index;
    uint32_t park;            // atomic futex word: see >>scheduler
    char pad[CRT__CACHE_LINE];
    // the owner's, as a rule
    uint32_t lifo_polls;      // LIFO polls in a row
    crt_task *lifo;           // atomic: woken by the task that runs
    crt_task *running;        // atomic: for the dump and the monitor
    crt__list fifo;           // current thread; pinned tasks on both
    crt__list deferred;       // yielded: run after the drivers
    crt__inject *inbox;       // pinned tasks woken elsewhere; multi-thread
    crt_cx *cx;               // on the stack of the thread that acts for it
    uint32_t pinned_live;     // atomic: pinned tasks that have not ended
    bool searching, sleeping; // `sleeping` under the idle lock
    bool has_thread, lifo_off, pinned_next;
    uint32_t spin;            // rounds before it sleeps while blocking jobs run
    uint32_t thread_done;     // atomic: its first thread is about to end
    uint64_t rng;
    uint64_t next_id, last_id;
    uint32_t inject_interval, until_inject;   // in tasks
    uint32_t background_at;   // crt__polls_of() when the last task of the background came before others
    uint32_t batch_polls;
    int64_t batch_start;
    double mean_poll;         // ns, smoothed
    uint32_t monitor_polls;   // atomic: what the monitor saw last
    crt__cache cache[CRT__CLASSES];
    crt__wheel wheel;
    // metrics, written by the owner
    crt__u64 spawned, completed, polls, noops, steals, steal_ops, overflows;
    crt__u64 park_unparks;    // odd: parked
    crt__u64 local_schedules, forced_yields, busy_ns, thread_id;
    crt__tally tally[CRT__HISTOGRAMS];
    crt__thread thread;
    char last_pad[CRT__CACHE_LINE];   // before the next worker
};

typedef struct crt__reactor crt__reactor;   // the platform header defines it

// Workers that are not parked, and of those the ones that look for work.
typedef struct crt__idle {
    char pad[CRT__CACHE_LINE];
    uint32_t word;     // atomic: unparked << 16 | searching
    uint32_t lock;     // over sleepers and worker.sleeping
    uint32_t *sleepers;   // stack of worker numbers
    uint32_t count;       // atomic for readers
    char last_pad[CRT__CACHE_LINE];
} crt__idle;

typedef struct crt__pool {
    crt__inject queue;
    uint32_t threads, idle;             // atomic
    uint32_t coming;                    // atomic: a thread is on its way to the queue
    uint32_t spin, spin_most;           // atomic: rounds before a thread sleeps
    uint32_t alive;                     // atomic futex word: threads not yet gone
    uint32_t tokens;                    // atomic futex word: wake-ups not yet taken
    uint32_t stop;                      // atomic
    uint32_t exit_lock, has_zombie;
    uint32_t abandoned;                 // nobody joins any more; under exit_lock
    crt__thread zombie;                 // ended, not yet joined
    uint32_t outstanding;               // atomic: jobs queued or running
} crt__pool;

// Apart from each other, by a line of padding: what every worker reads at every poll
// and hardly anybody writes; what calls from outside write; each lock with what it is
// over. bench/scale.c counts what a line costs that two of these share.
struct crt_runtime {
    // read at every poll
    uint32_t closing;         // atomic: no new tasks
    uint32_t stop;            // atomic: workers leave their loop
    uint32_t dead;            // under slab_lock: only orphans are left
    uint32_t buried;          // atomic: its own reference goes next, or has gone
    uint32_t watches_polls;   // a hook, a histogram or the trace: one branch for all
    uint32_t task_flags;      // of every task: CRT__TASK_TIMED or 0
    uint32_t task_extra;      // room behind every frame: that of a crt__record, or 0
    crt_config config;
    char thread_name[32];
    crt__worker *workers;
    uint32_t worker_count;
    uint32_t threads_alive;   // atomic: workers whose loop has not ended
    uint32_t unfinished;      // atomic futex word: 1 until the last of them has tidied up
    uint32_t threads_running; // atomic futex word: threads started for workers
    int64_t process;          // that built it; its children by fork() have none of its threads
    uint32_t driving;         // current thread: someone drives (futex word)
    uint32_t refused;         // atomic: somebody was told that another drives
    uint32_t shutdown_called, shutdown_done;   // atomic; called: CRT__SHUTDOWN_...; done: 1 + tasks left
    crt__reactor *reactor;    // NULL without CRT_DRIVER_IO
    crt__i64 clock_base;      // atomic
    crt__i64 clock_offset;    // virtual clock: instant = offset while paused
    uint32_t clock_paused;    // atomic
    uint32_t signal_registered;
    // calls from outside
    char remote_pad[CRT__CACHE_LINE];
    uint32_t refs;            // atomic
    crt__u64 remote_spawned;  // atomic: 2 x tasks spawned from outside, bit 0 closed
    crt__u64 remote_completed;   // atomic
    crt__u64 remote_schedules;   // atomic
    char inject_pad[CRT__CACHE_LINE];
    crt__inject inject;
    crt__inject urgent, background;   // tasks with a priority
    char idle_pad[CRT__CACHE_LINE];
    crt__idle idle;
    // drivers
    char driver_pad[CRT__CACHE_LINE];
    uint32_t driver_lock;     // atomic: 1 while a worker is inside; multi-thread
    crt__i64 monitor_last;    // atomic: when somebody looked at the LIFO slots
    uint32_t driver_parked;   // atomic: that worker waits
    crt__i64 driver_until;    // atomic: instant at which it will wake by itself
    uint32_t no_io_futex;     // stands in for the reactor's wake-up
    char monitor_pad[CRT__CACHE_LINE];
    uint32_t monitor_asleep;  // atomic: it waits without a limit; read by each wake into a LIFO slot
    // memory
    char slab_pad[CRT__CACHE_LINE];
    uint32_t slab_lock;
    uint32_t walk_lock;       // the end of a shutdown against whoever else still ends tasks
    uint32_t ended;           // atomic, written under walk_lock: leftovers were adopted
    uint32_t ending;          // atomic futex word, grows under walk_lock: tasks in scopes that end off their worker
    crt__chunk *chunks;
    crt_task *depot[CRT__CLASSES];
    crt__chunk *open_chunk[CRT__CLASSES];
    crt__u64 bytes;           // atomic
    char pool_pad[CRT__CACHE_LINE];
    crt__pool pool;
    // sockets
    char sock_pad[CRT__CACHE_LINE];
    uint32_t sock_lock;
    uint32_t sock_count;      // records carved from the table so far
    struct crt__sock *sock_table[20];   // atomic: 64, 128, 256, ... records
    void *sock_memory[20];              // where they lie in
    struct crt__sock *sock_free;
    uint32_t lookup_lock, lookups;       // under that lock: names being looked up now
    struct crt__resolve *lookup_first, *lookup_last;   // and those that wait
    crt__u64 fd_registered, fd_deregistered, io_ready;   // atomic
    crt__u64 failures;        // atomic: unjoined failures seen
};

// What this thread is to crt.
typedef struct crt__context {
    crt_runtime *rt;       // set inside workers, blocking jobs and hooks
    crt__worker *worker;   // the worker that this thread acts for
    uint32_t in_task;      // polls on this thread's stack
} crt__context;
#ifdef CRT__BARE
static crt__context crt__contexts[2];   // the program's, and that of handlers, which stays all zero
#define crt__tls crt__contexts[crt__in_interrupt()]
#elif !CRT__THREADS
static crt__context crt__tls;
#elif defined(CRT__TLS)
static CRT__TLS crt__context crt__tls;
#else
// A compiler without them: a block for each thread that comes by, freed as it ends.
static pthread_key_t crt__tls_key;
static void crt__tls_make_key(void)
{
    if (!pthread_key_create(&crt__tls_key, free)) return;
    fputs("crt: no key for what each thread has\n", stderr);
    abort();
}
static crt__context *crt__tls_block(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, crt__tls_make_key);
    crt__context *c = pthread_getspecific(crt__tls_key);
    if (c) return c;
    c = calloc(1, sizeof *c);
    if (c && !pthread_setspecific(crt__tls_key, c)) return c;
    fputs("crt: no memory for what each thread has\n", stderr);
    abort();
    return c;
}
#define crt__tls (*crt__tls_block())
#endif

// ---------------------------------------------------------------------------
// >>log           errors, names, lines
// ---------------------------------------------------------------------------
// A line is made on the stack, cut off at 511 bytes, and goes to crt_config.log of the
// runtime that it is about. Nothing here allocates.

CRTDEF const char *crt_strerror(int error)
{
    switch (error) {
#define CRT__ERROR_TEXT(name, number, text)                                                \
    case name: return text;
        CRT__ERRORS(CRT__ERROR_TEXT)
#undef CRT__ERROR_TEXT
    case (int)CRT_PENDING: return "CRT_PENDING: it waits; call it in CRT_AWAIT";
    case (int)CRT_UNWIND: return "CRT_UNWIND: the task is being cancelled; hand it on";
    default: break;
    }
    if (error >= 0) return "success";
    return error > -20000 ? strerror(-error) : "unknown error";
}

CRTDEF const char *crt_err_name(int error)
{
    switch (error) {
#define CRT__ERROR_NAME(name, number, text)                                                \
    case name: return #name;
        CRT__ERRORS(CRT__ERROR_NAME)
#undef CRT__ERROR_NAME
    case (int)CRT_PENDING: return "CRT_PENDING";
    case (int)CRT_UNWIND: return "CRT_UNWIND";
    default: return "E?";
    }
}

// Where lines go that nobody else takes. A platform header for bare metal says where.
#ifdef CRT__BARE
static void crt__log_line(const char *level, const char *line);
#else
static void crt__log_line(const char *level, const char *line) { fprintf(stderr, "crt: %s: %s\n", level, line); }
#endif
static void crt__logv(const crt_log *log, int level, const char *format, va_list args)
{
    static const char *const names[] = {"", "error", "warning", "info", "debug"};
    char line[512];
    if (level > (log->level ? log->level : CRT_LOG_WARN)) return;
    vsnprintf(line, sizeof line, format, args);
    if (log->func) log->func(level, line, log->user_data);
    else crt__log_line(names[level], line);
}
CRT__PRINTF(3, 4)
static CRT__COLD void crt__log_to(const crt_log *log, int level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    crt__logv(log, level, format, args);
    va_end(args);
}
#define crt__say(rt, ...) crt__log_to(&(rt)->config.log, __VA_ARGS__)
// Of the runtime that this thread belongs to; without one, lines go where they go by default.
static const crt_log *crt__own_log(void)
{
    static const crt_log none;
    return crt__tls.rt ? &crt__tls.rt->config.log : &none;
}
// In a call that blocks the thread there may be no runtime.
CRT__UNUSED static const crt_log *crt__cx_log(const crt_cx *cx)
{
    return cx->rt ? &cx->rt->config.log : crt__own_log();
}
CRT__UNUSED static CRT__COLD void crt__say_no_thread(crt_runtime *rt, const char *what, int e)
{
    crt__say(rt, CRT_LOG_ERROR,
             "the system starts no thread for %s: %s (%d). Raise the limit on threads (ulimit -u, the service's or "
             "container's limit on tasks) or on memory (ulimit -v; each takes crt_config.thread_stack_size), or set "
             "fewer in crt_config.worker_threads and max_blocking_threads",
             what, strerror(-e), e);   // the system's words: EAGAIN means something else to callers of crt
}
#ifdef CRT__BARE   // small C libraries know no %llu
#define CRT__ID "%lu"
typedef unsigned long crt__id;
#else
#define CRT__ID "%llu"
typedef unsigned long long crt__id;
#endif

// ---------------------------------------------------------------------------
// >>slab          memory of the runtime; tasks from per-worker caches
// ---------------------------------------------------------------------------
// A task is carved from a chunk of its size class. Freed tasks go to the cache of
// the worker that freed them (no lock), from there in batches to the runtime's
// depot (one lock for some 32 tasks), and come back the same way. So a task is
// one allocation, usually without any.
// Invariants: chunks of a class are never returned before the runtime ends, and
// a free task has state 0, so a walk over the chunks may look at any task's
// state at any time. `flags` has CRT__TASK_ALLOCATED while it is in use.
// Tasks larger than the largest class, and those in the caller's storage, are a
// chunk of their own.

enum { CRT__BATCH = 32, CRT__CLASS_LARGE = 100, CRT__CLASS_STORAGE = 101 };

static void *crt__alloc(crt_runtime *rt, size_t size)
{
    crt_allocator *a = &rt->config.allocator;
    void *p = a->alloc_fn ? a->alloc_fn(size, a->user_data) : CRT_MALLOC(size);
    if (p) crt__atomic_add(&rt->bytes, (uint64_t)size, CRT__RELAXED);
    return p;
}
static void *crt__alloc_zero(crt_runtime *rt, size_t size)
{
    void *p = crt__alloc(rt, size);
    if (p) memset(p, 0, size);
    return p;
}
static void crt__free(crt_runtime *rt, void *p, size_t size)
{
    crt_allocator *a = &rt->config.allocator;
    if (!p) return;
    crt__atomic_sub(&rt->bytes, (uint64_t)size, CRT__RELAXED);
    if (a->free_fn) a->free_fn(p, a->user_data);
    else CRT_FREE(p);
}

// Classes: steps of 16 bytes to 512, of 64 to 1024, then eight to each doubling,
// up to 16 KiB.
static uint32_t crt__class_of(size_t size)
{
    if (size <= 512) return (uint32_t)((size + 15) / 16 - 1);
    if (size <= 1024) return (uint32_t)(32 + (size - 512 + 63) / 64 - 1);
    uint32_t c = 40;
    for (size_t base = 1024; base < 16384; base *= 2, c += 8)
        if (size <= base * 2) return c + (uint32_t)((size - base + base / 8 - 1) / (base / 8) - 1);
    return CRT__CLASS_LARGE;
}
static size_t crt__class_size(uint32_t c)
{
    if (c < 32) return (size_t)(c + 1) * 16;
    if (c < 40) return 512 + (size_t)(c - 32 + 1) * 64;
    size_t base = (size_t)1024 << ((c - 40) / 8);
    return base + base / 8 * ((c - 40) % 8 + 1);
}

static crt_task *crt__chunk_task(crt__chunk *chunk, uint32_t i)
{
    char *first = (char *)chunk + CRT__CHUNK_HEAD;
    return (crt_task *)(void *)(first + (size_t)i * chunk->stride);
}

static void crt__chunk_link(crt_runtime *rt, crt__chunk *chunk)
{
    chunk->prev = NULL;
    chunk->next = rt->chunks;
    if (rt->chunks) rt->chunks->prev = chunk;
    rt->chunks = chunk;
}
static void crt__chunk_unlink(crt_runtime *rt, crt__chunk *chunk)
{
    if (chunk->prev) chunk->prev->next = chunk->next;
    else rt->chunks = chunk->next;
    if (chunk->next) chunk->next->prev = chunk->prev;
}

static size_t crt__chunk_bytes(const crt__chunk *chunk)
{
    return CRT__CHUNK_HEAD + (size_t)chunk->count * chunk->stride;
}

// A chunk with room for n tasks, not yet listed. NULL: no memory.
static CRT__COLD crt__chunk *crt__chunk_new(crt_runtime *rt, uint32_t class_, size_t stride, uint32_t n)
{
    crt__chunk shape = {rt, NULL, NULL, class_, (uint32_t)stride, n, 0};
    crt__chunk *chunk = crt__alloc(rt, crt__chunk_bytes(&shape));
    if (chunk) *chunk = shape;
    return chunk;
}

static void crt__depot_put(crt_runtime *rt, uint32_t class_, crt_task *list, uint32_t n)
{
    list->id = n;
    list->ext = (crt__ext *)(void *)rt->depot[class_];
    rt->depot[class_] = list;
}
// At most `want` free tasks of a class, CRT__BATCH or 1, linked by `next`; *n how many.
// Takes slab_lock. The depot is a stack of batches: the first task of each keeps
// the batch below in `ext`, its length in `id`.
static crt_task *crt__depot_take(crt_runtime *rt, uint32_t class_, uint32_t want, uint32_t *n)
{
    crt_task *list = NULL;
    crt__lock(&rt->slab_lock);
    list = rt->depot[class_];
    if (list) {
        rt->depot[class_] = (crt_task *)(void *)list->ext;
        *n = (uint32_t)list->id;
        if (want == 1 && *n > 1) {
            crt__depot_put(rt, class_, list->next, *n - 1);
            *n = 1;
        }
        crt__unlock(&rt->slab_lock);
        return list;
    }
    crt__chunk *chunk = rt->open_chunk[class_];
    if (!chunk || chunk->carved == chunk->count) {
        // Small at first (a quiet program stays small), then up to 64 KiB.
        size_t stride = crt__class_size(class_);
        size_t last = chunk ? chunk->count : 4, most = crt__max(1, 65536 / stride);
        chunk = crt__chunk_new(rt, class_, stride, (uint32_t)crt__min(last * 2, most));
        if (!chunk) {
            crt__unlock(&rt->slab_lock);
            return NULL;
        }
        crt__chunk_link(rt, chunk);
        rt->open_chunk[class_] = chunk;
    }
    uint32_t got = crt__min(want, chunk->count - chunk->carved);
    for (uint32_t i = got; i-- > 0;) {
        crt_task *t = crt__chunk_task(chunk, chunk->carved + i);
        t->state = t->flags = 0;
        t->home = chunk;
        t->next = list;
        list = t;
    }
    crt__atomic_store(&chunk->carved, chunk->carved + got, CRT__RELEASE);
    crt__unlock(&rt->slab_lock);
    *n = got;
    return list;
}
// Fetches a task that is needed soon: where many are alive it has left the caches. Not if it is
// NULL: of an address that is not mapped the processor looks for the page, each time in vain.
static inline void crt__task_prefetch(const crt_task *t)
{
    for (uintptr_t i = 0; t && i < 3; i++)
        CRT__PREFETCH((const void *)((uintptr_t)t + i * CRT__CACHE_LINE));
}

// A task with room for `size` bytes of frame, state 0. `w` may be NULL.
static crt_task *crt__task_alloc(crt_runtime *rt, crt__worker *w, size_t size)
{
    size_t bytes = sizeof(crt_task) + size + rt->task_extra;
    uint32_t class_ = crt__class_of(bytes), n;
    crt_task *t;
    if (CRT__UNLIKELY(class_ == CRT__CLASS_LARGE)) {
        crt__chunk *chunk = crt__chunk_new(rt, CRT__CLASS_LARGE, (bytes + 15) / 16 * 16, 1);
        if (!chunk) return NULL;
        t = crt__chunk_task(chunk, 0);
        t->state = t->flags = 0;
        chunk->carved = 1;
        crt__lock(&rt->slab_lock);
        crt__chunk_link(rt, chunk);
        crt__unlock(&rt->slab_lock);
        t->home = chunk;
        return t;
    }
    if (w) {
        crt__cache *cache = &w->cache[class_];
        if (CRT__UNLIKELY(!cache->list)) {
            cache->list = crt__depot_take(rt, class_, CRT__BATCH, &n);
            if (!cache->list) return NULL;
            cache->count = n;
        }
        t = cache->list;
        cache->list = t->next;
        cache->count--;
        crt__task_prefetch(cache->list);   // the next spawn's
    } else {
        t = crt__depot_take(rt, class_, 1, &n);
    }
    return t;
}

static void crt__rt_unref(crt_runtime *rt);

// Takes a task's memory back. Its state is 0 and nobody knows it any more.
static void crt__task_release(crt_task *t)
{
    crt__chunk *home = t->home;
    crt_runtime *rt = home->rt;
    crt__worker *w = crt__tls.worker;
    if (CRT__LIKELY(w && w->rt == rt && home->class_ < CRT__CLASSES)) {
        crt__cache *cache = &w->cache[home->class_];
        t->flags = 0;
        t->next = cache->list;
        cache->list = t;
        if (CRT__LIKELY(++cache->count < 2 * CRT__BATCH)) return;
        crt_task *batch = cache->list, *last = batch;
        for (uint32_t i = 1; i < CRT__BATCH; i++) last = last->next;
        cache->list = last->next;
        cache->count -= CRT__BATCH;
        last->next = NULL;
        crt__lock(&rt->slab_lock);
        crt__depot_put(rt, home->class_, batch, CRT__BATCH);
        crt__unlock(&rt->slab_lock);
        return;
    }
    // From outside. The runtime may be ending at this moment: a reference keeps it
    // until we are done. An orphan has one of its own to give back.
    uint32_t class_ = home->class_;
    crt__lock(&rt->slab_lock);
    crt__atomic_add(&rt->refs, 1, CRT__RELAXED);
    t->flags = 0;
    bool orphan = rt->dead;
    if (class_ < CRT__CLASSES) {
        t->next = NULL;
        crt__depot_put(rt, class_, t, 1);
    } else {
        crt__chunk_unlink(rt, home);
    }
    crt__unlock(&rt->slab_lock);
    if (class_ == CRT__CLASS_LARGE) crt__free(rt, home, crt__chunk_bytes(home));
    else if (class_ == CRT__CLASS_STORAGE) crt__atomic_store(&home->carved, 0, CRT__RELEASE);
    if (orphan) crt__rt_unref(rt);
    crt__rt_unref(rt);
}

// ---------------------------------------------------------------------------
// >>task          one word of state, reference counts, join, wakers
// ---------------------------------------------------------------------------
//
//   state   31 ............. 7 |  6  |   5   |    4    |  3   |   2    |   1    |  0
//           references         | OFF |UNWOUND|CANCELLED| JOIN |COMPLETE|NOTIFIED|ACTIVE
//
//   (nothing) -- spawn --> ACTIVE: queued, then polled ---- a result --> COMPLETE
//                          ^  |  ^                   |
//          wake (of idle)  |  |  | wake: + NOTIFIED  | abort (of idle)
//                          |  v  |                   v
//                          idle  '-> ACTIVE|NOTIFIED, or NOTIFIED: queued, to be polled
//
// Invariants.
//  * ACTIVE or NOTIFIED (and not COMPLETE) means: the task is in exactly one queue, or on
//    its way there, or being polled. Whoever wakes an idle task puts it there; nobody else.
//  * NOTIFIED: woken since it was queued. The worker that begins a poll clears it, and with
//    it has seen all that its wakers wrote; if it is not set, beginning a poll needs no
//    read-modify-write. What a poll's end finds set goes back to the queue.
//  * A poll belongs to one thread. A task that yielded keeps ACTIVE while it waits in its
//    worker's deferred list.
//  * One reference is the runtime's, from spawn to COMPLETE; one the join
//    handle's (JOIN set); one for each waker and each registered joiner. A queue
//    entry needs none: a task in a queue cannot complete before it is taken out.
//  * Cancellation is delivered once: UNWOUND is set when it is.
// Orders. Every change (but one more reference) is a read-modify-write with acq_rel, also a
// wake of a task that is NOTIFIED already: the waker's writes must reach the poll that follows.
// The first wake reaches it by way of the queue.
//
// The join word: 0, a waiting task (with a reference), a waiting thread (bit 1),
// or CRT__JOIN_DONE (bit 0), which is stored after the result and read with acquire before it.

enum {
    CRT__ACTIVE = 1,
    CRT__NOTIFIED = 2,
    CRT__COMPLETE = 4,
    CRT__JOIN = 8,
    CRT__CANCELLED = 16,
    CRT__UNWOUND = 32,
    CRT__OFF = 64,   // polled by a thread that has given its worker away, or ended by another than its runtime
    CRT__REF = 128
};
enum {
    CRT__TASK_ALLOCATED = 1,
    CRT__TASK_EXTERNAL = 2,     // the frame is the caller's; a pointer to it follows
    CRT__TASK_PINNED = 4,       // runs on one worker
    CRT__TASK_MEMBER = 8,       // a crt__member lies before the frame
    CRT__TASK_PANICKED = 16,
    CRT__TASK_WAS_CANCELLED = 32,
    CRT__TASK_ROOT = 64,        // block_on waits for it
    CRT__TASK_SEEN = 128,       // somebody has taken the outcome
    CRT__TASK_URGENT = 256,     // priority > 0
    CRT__TASK_BACKGROUND = 512, // priority < 0
    CRT__TASK_THREAD = 2048,    // a plain thread that waits, see >>sync
    CRT__TASK_NO_SITE = 1024,   // shutdown: it was queued, not parked
    CRT__TASK_ADOPTED = 4096,   // shutdown: to be ended by force
    CRT__TASK_IN_SCOPE = 8192,  // its group lies in the memory of another task
    CRT__TASK_LATE = 16384,     // ends after the leftovers of a shutdown: that memory is gone
    CRT__TASK_TIMED = 32768,    // its crt__record says since when it could run
    CRT__TASK_PRIORITY = CRT__TASK_URGENT | CRT__TASK_BACKGROUND,
    CRT__TASK_ODD = CRT__TASK_MEMBER | CRT__TASK_PANICKED | CRT__TASK_ROOT,   // there is more to its end
    CRT__TASK_WORKER_SHIFT = 16   // pinned: the worker's number
};
enum { CRT__JOIN_DONE = 1, CRT__JOIN_THREAD = 2 };

static void crt__submit(crt_task *t);
static void crt__word_wake(uintptr_t was);
static bool crt__crew_done(crt_task *t, bool failed);
static void crt__thread_task_wake(crt_task *t);
static void crt__root_done(crt_runtime *rt);
static void crt__begin_shutdown(crt_runtime *rt);
static crt__u64 crt__ids;   // atomic

typedef struct crt__ext_text {
    crt__ext ext;
    char text[];
} crt__ext_text;

// A job of the blocking pool has no poll function.
static inline bool crt__is_job(const crt_task *t) { return t->fn == NULL; }

static inline bool crt__sits_idle(uint32_t state)
{
    return (state & (CRT__ACTIVE | CRT__NOTIFIED | CRT__COMPLETE)) == 0;
}

static crt__member *crt__member_of(crt_task *t) { return (crt__member *)(void *)(t + 1); }
static void *crt__task_frame(crt_task *t)
{
    if (CRT__LIKELY(!(t->flags & (CRT__TASK_EXTERNAL | CRT__TASK_MEMBER)))) return t + 1;
    return t->flags & CRT__TASK_MEMBER ? (void *)(crt__member_of(t) + 1) : *(void **)(void *)(t + 1);
}

// Of a task of a runtime with task_extra.
static crt__record *crt__record_of(crt_task *t)
{
    return (crt__record *)(void *)((char *)t + t->home->stride) - 1;
}

static uint64_t crt__task_new_id(crt__worker *w)
{
    if (!w) return crt__atomic_add(&crt__ids, 1, CRT__RELAXED) + 1;
    if (w->next_id == w->last_id) {   // a block of numbers at a time
        w->next_id = crt__atomic_add(&crt__ids, 1024, CRT__RELAXED) + 1;
        w->last_id = w->next_id + 1024;
    }
    return w->next_id++;
}

// Fills in a fresh task. Nobody sees it before crt__task_publish.
static void crt__task_init(crt_task *t, crt__worker *w, crt_fn fn, const void *frame,
                           size_t size, uint32_t flags)
{
    t->flags = flags | CRT__TASK_ALLOCATED;
    t->fn = fn;
    t->join = 0;
    t->ext = NULL;
    t->groups = NULL;
    t->id = crt__task_new_id(w);
    memset(&t->u.slot, 0, sizeof t->u.slot);
    if (flags & CRT__TASK_EXTERNAL) memcpy(t + 1, &frame, sizeof frame);
    else if (frame) memcpy(crt__task_frame(t), frame, size);
    else memset(crt__task_frame(t), 0, size);
}
// To be submitted. The state comes last: a walk over the chunks sees a whole task or
// none. A job is NOTIFIED until somebody claims it (>>blocking).
static void crt__task_publish(crt_task *t, bool join, uint32_t more_refs)
{
    uint32_t state = (crt__is_job(t) ? CRT__NOTIFIED : CRT__ACTIVE) | CRT__REF;
    if (join) state += CRT__JOIN + CRT__REF;
    crt__atomic_store(&t->state, state + more_refs * CRT__REF, CRT__RELEASE);
}

static void *crt__ext_find(crt_task *t, uint32_t kind)
{
    for (crt__ext *e = crt__atomic_load(&t->ext, CRT__ACQUIRE); e; e = e->next)
        if (e->kind == kind) return e;
    return NULL;
}
static CRT__OUTLINE void *crt__ext_add(crt_task *t, uint32_t kind, size_t size)
{
    crt__ext *e = crt__alloc_zero(t->home->rt, size);
    if (!e) return NULL;
    e->kind = kind;
    e->size = (uint32_t)size;
    e->next = t->ext;
    return e;
}
// Whole by now: dumps may look.
static void crt__ext_publish(crt_task *t, void *e) { crt__atomic_store(&t->ext, (crt__ext *)e, CRT__RELEASE); }
static CRT__COLD void crt__ext_add_text(crt_task *t, uint32_t kind, const char *text, size_t most)
{
    size_t n = strlen(text);
    if (n > most) n = most;
    crt__ext_text *e = crt__ext_add(t, kind, sizeof *e + n + 1);
    if (!e) return;
    memcpy(e->text, text, n);
    crt__ext_publish(t, e);
}
static const char *crt__ext_text_of(crt_task *t, uint32_t kind)
{
    crt__ext_text *e = crt__ext_find(t, kind);
    return e ? e->text : NULL;
}
static const char *crt__task_name_of(crt_task *t) { return crt__ext_text_of(t, CRT__EXT_NAME); }

static void crt__task_ref(crt_task *t)
{
    uint32_t s = crt__atomic_add(&t->state, CRT__REF, CRT__RELAXED);
    CRT_ASSERT(s < UINT32_MAX - CRT__REF);   // 2^25 wakers of one task: somebody drops none of them
    (void)s;
}

static void crt__task_free(crt_task *t)
{
    crt_runtime *rt = t->home->rt;
    while (CRT__UNLIKELY(t->ext != NULL)) {
        crt__ext *e = t->ext;
        t->ext = e->next;
        crt__free(rt, e, e->size);
    }
    crt__atomic_store(&t->state, 0, CRT__RELAXED);
    crt__task_release(t);
}
// Gives references back; whoever gives the last frees the task.
static void crt__task_unref(crt_task *t, uint32_t how_many)
{
    uint32_t old = crt__atomic_sub(&t->state, CRT__REF * how_many, CRT__ACQ_REL);
    if (old / CRT__REF == how_many) crt__task_free(t);
}
// A reference to a task that may be on its way out. False: it is gone.
static bool crt__task_try_ref(crt_task *t)
{
    uint32_t s = crt__atomic_load(&t->state, CRT__ACQUIRE);
    while (s >= CRT__REF)
        if (crt__atomic_cas_weak(&t->state, &s, s + CRT__REF, CRT__ACQ_REL, CRT__ACQUIRE)) return true;
    return false;
}

#ifdef CRT_ENABLE_TRACE
// The console's fields. What the poller writes it writes while it owns ACTIVE.
typedef struct crt__ext_trace {
    crt__ext ext;
    int64_t created;                          // never changes, as the next
    const char *spawned_at;
    crt__u64 polls, busy, scheduled;          // atomic, written by the poller
    crt__u64 wakes, self_wakes, last_wake;    // atomic
} crt__ext_trace;

static CRT__COLD void crt__trace_spawn(crt_task *t, const char *site)
{
    crt__ext_trace *e = crt__ext_add(t, CRT__EXT_TRACE, sizeof *e);
    if (!e) return;   // then this task is not traced
    e->created = crt__clock();
    e->spawned_at = site;
    crt__ext_publish(t, e);
}
// Before the wake itself, after which the task may be gone.
static CRT__COLD void crt__trace_wake(crt_task *t)
{
    crt__ext_trace *e = crt__ext_find(t, CRT__EXT_TRACE);
    if (!e) return;
    int64_t now = crt__clock();
    crt__worker *w = crt__tls.worker;
    crt__atomic_add(&e->wakes, 1, CRT__RELAXED);
    if (w && crt__atomic_load(&w->running, CRT__RELAXED) == t) crt__atomic_add(&e->self_wakes, 1, CRT__RELAXED);
    crt__atomic_store(&e->last_wake, (uint64_t)now, CRT__RELAXED);
}
static CRT__COLD void crt__trace_begin(crt_task *t, crt_duration waited)
{
    crt__ext_trace *e = crt__ext_find(t, CRT__EXT_TRACE);
    if (!e) return;
    crt__count(&e->polls, 1);
    crt__count(&e->scheduled, (uint64_t)waited);
}
static CRT__COLD void crt__trace_end(crt_task *t, crt_duration took)
{
    crt__ext_trace *e = crt__ext_find(t, CRT__EXT_TRACE);
    if (e) crt__count(&e->busy, (uint64_t)took);
}
#else
#define crt__trace_spawn(t, site) ((void)0)
#define crt__trace_wake(t) ((void)0)
#define crt__trace_begin(t, waited) ((void)0)
#define crt__trace_end(t, took) ((void)0)
#endif

// Marks a task as woken. True: it was idle, and the caller must crt__submit it.
// Until that is done the task cannot end, so the caller needs no reference.
static inline bool crt__task_notify(crt_task *t)
{
    crt__trace_wake(t);
    uint32_t s = crt__atomic_load(&t->state, CRT__RELAXED);
    while (!crt__atomic_cas_weak(&t->state, &s, s | (crt__sits_idle(s) ? CRT__ACTIVE : CRT__NOTIFIED), CRT__ACQ_REL,
                                 CRT__RELAXED)) {}
    return crt__sits_idle(s);
}
// Begins a poll: what has woken the task is behind it. The state.
static inline uint32_t crt__task_begin(crt_task *t)
{
    uint32_t s = crt__atomic_load(&t->state, CRT__ACQUIRE);
    if (CRT__LIKELY(!(s & CRT__NOTIFIED))) return s;
    return crt__atomic_sub(&t->state, s & CRT__ACTIVE ? CRT__NOTIFIED : CRT__NOTIFIED - CRT__ACTIVE, CRT__ACQ_REL);
}
static void crt__task_wake(crt_task *t)
{
    if (crt__task_notify(t)) crt__submit(t);
}

static void crt__list_push(crt__list *l, crt_task *t)
{
    t->next = NULL;
    if (l->tail) l->tail->next = t;
    else l->head = t;
    l->tail = t;
}
static crt_task *crt__list_pop(crt__list *l)
{
    crt_task *t = l->head;
    if (t && !(l->head = t->next)) l->tail = NULL;
    return t;
}
static void crt__submit_list(crt__list *l)
{
    for (crt_task *t; (t = crt__list_pop(l));) crt__submit(t);
}

// Wakes whoever waits in a lock's care: collect under the lock, submit outside.
static inline void crt__wake_into(crt__list *l, crt_task *t)
{
    if (crt__task_notify(t)) crt__list_push(l, t);
}

static void crt__slot_cancel(crt_slot *slot)
{
    const crt__op *op = slot->op;
    if (!op) return;
    slot->op = NULL;   // first: a cancel may hand the slot to somebody else (a once cell's)
    op->cancel(slot);
}
static void crt__group_link(crt_cx *cx, crt__group *g, crt_slot *first, uint32_t count,
                            uint32_t stride)
{
    g->first = first;
    g->count = count;
    g->stride = stride;
    g->next = cx->task->groups;
    g->pprev = &cx->task->groups;
    if (g->next) g->next->pprev = &g->next;
    cx->task->groups = g;
}
static void crt__group_unlink(crt__group *g)
{
    if (!g->pprev) return;
    *g->pprev = g->next;
    if (g->next) g->next->pprev = g->pprev;
    g->pprev = NULL;
}
// Takes the task out of everything it waits for, whatever the user forgot.
static void crt__task_unlink(crt_task *t)
{
    crt__slot_cancel(&t->u.slot);
    while (t->groups) {
        crt__group *g = t->groups;
        char *slot = (char *)g->first;
        uint32_t count = g->count, stride = g->stride;
        crt__group_unlink(g);   // first: as above, with the group
        for (; count > 0; count--, slot += stride) crt__slot_cancel((crt_slot *)(void *)slot);
    }
}

static void crt__hook(crt_task *t, void (*hook)(void *, const crt_task_meta *), crt_duration waited)
{
    crt_runtime *rt = t->home->rt, *outer = crt__tls.rt;
    crt_task_meta m = {t->id, crt__task_name_of(t), t->fn, crt__record_of(t)->spawned_at, waited};
    crt__tls.rt = rt;
    hook(rt->config.hook_data, &m);
    crt__tls.rt = outer;
}

// An outcome that nobody will join. Panics are all logged; of errors, which may
// come by the thousand (a peer that resets), the first 16, the 32nd, 64th, ...
static CRT__COLD void crt__report_failure(crt_task *t)
{
    crt_runtime *rt = t->home->rt;
    const char *name = crt__task_name_of(t), *space = name ? " " : "";
    crt__id id = (crt__id)t->id;
    if (!name) name = "";
    if (t->flags & CRT__TASK_PANICKED) {
        const char *why = crt__ext_text_of(t, CRT__EXT_PANIC);
        crt__say(rt, CRT_LOG_ERROR, "task " CRT__ID "%s%s panicked%s: %s", id, space, name,
                 t->flags & CRT__TASK_IN_SCOPE ? "" : " and nobody joins it",
                 why ? why : "(no memory for the message)");
        return;
    }
    uint64_t n = crt__atomic_add(&rt->failures, 1, CRT__RELAXED) + 1;
    int e = (int)t->u.result;
    if (n > 16 && (n & (n - 1))) return;
    const char *thinner = n < 16 ? "" : "; only each doubling of such failures is logged from now on";
    const char *what = crt_err_name(e);
    if (what[1] == '?') what = "an error";   // the system's have no name of crt's
    crt__say(rt, CRT_LOG_WARN, "task " CRT__ID "%s%s ended with %s (%d: %s) and nobody joins it%s", id, space, name,
             what, e, crt_strerror(e), thinner);
}
static bool crt__task_failed(const crt_task *t)
{
    if (crt__is_job(t)) return false;   // its result is not a crt_poll
    return (t->flags & CRT__TASK_PANICKED) ||
           (!(t->flags & CRT__TASK_WAS_CANCELLED) && t->u.result < 0);
}

// The outcome is there: whoever joins hears of it.
static inline void crt__task_tell(crt_task *t)
{
    uintptr_t waiter = crt__atomic_xchg(&t->join, (uintptr_t)CRT__JOIN_DONE, CRT__ACQ_REL);
    if (waiter & CRT__JOIN_THREAD) {
        uint32_t *word = (uint32_t *)(waiter & ~(uintptr_t)CRT__JOIN_THREAD);
        crt__atomic_store(word, 1, CRT__RELEASE);
        crt__futex_wake(word, 1);
    } else {
        crt__word_wake(waiter);
    }
}
// Of a task that belongs to a group or to a crt_block_on, was cancelled, has failed or
// panicked, or whose end a hook is told of.
static CRT__OUTLINE void crt__task_complete_odd(crt_task *t, crt_poll r, uint32_t more)
{
    crt_runtime *rt = t->home->rt;
    uint32_t flags = t->flags;
    if (CRT__UNLIKELY(r == CRT_UNWIND) && !crt__is_job(t) && !(flags & CRT__TASK_PANICKED))
        flags = t->flags |= CRT__TASK_WAS_CANCELLED;
    t->u.result = r;
    if (CRT__UNLIKELY(rt->config.on_task_terminate != NULL) && !crt__is_job(t))
        crt__hook(t, rt->config.on_task_terminate, -1);
    bool joined = (crt__atomic_load(&t->state, CRT__RELAXED) & CRT__JOIN) != 0;
    bool failed = crt__task_failed(t), told = false;
    if (joined) crt__task_tell(t);
    bool orphan = (flags & (CRT__TASK_IN_SCOPE | CRT__TASK_LATE)) == (CRT__TASK_IN_SCOPE | CRT__TASK_LATE);
    if (CRT__UNLIKELY(flags & CRT__TASK_MEMBER) && !orphan) told = crt__crew_done(t, failed);
    if (CRT__UNLIKELY(failed) && !joined && !told) crt__report_failure(t);
    bool fatal = (flags & CRT__TASK_PANICKED) && rt->config.unhandled_panic == CRT_PANIC_SHUTDOWN;
    bool root = (flags & CRT__TASK_ROOT) != 0;
    uint32_t gone = 1 + more, old;
    if (CRT__UNLIKELY(failed && joined)) {   // the handle may have been detached meanwhile
        old = crt__atomic_add(&t->state, CRT__COMPLETE - CRT__ACTIVE, CRT__ACQ_REL);
        if (!(old & CRT__JOIN) && !(t->flags & CRT__TASK_SEEN)) crt__report_failure(t);
        crt__task_unref(t, gone);
    } else {
        old = crt__atomic_add(&t->state, CRT__COMPLETE - CRT__ACTIVE - CRT__REF * gone, CRT__ACQ_REL);
        if (old / CRT__REF == gone) crt__task_free(t);
    }
    if (CRT__UNLIKELY(root)) crt__root_done(rt);
    if (CRT__UNLIKELY(fatal)) {
        crt__say(rt, CRT_LOG_ERROR, "shutting down after a panic (unhandled_panic)");
        crt__begin_shutdown(rt);
    }
}
// Stores the outcome and tells the joiner. The caller owns ACTIVE and gives up
// the runtime's reference (and `more`) with the same instruction that completes it.
static inline void crt__task_complete(crt_task *t, crt_poll r, uint32_t more)
{
    if (CRT__UNLIKELY(r < 0 || (t->flags & CRT__TASK_ODD) || t->home->rt->config.on_task_terminate)) {
        crt__task_complete_odd(t, r, more);
        return;
    }
    t->u.result = r;
    if (crt__atomic_load(&t->state, CRT__RELAXED) & CRT__JOIN) crt__task_tell(t);
    uint32_t old = crt__atomic_add(&t->state, CRT__COMPLETE - CRT__ACTIVE - CRT__REF * (1 + more), CRT__ACQ_REL);
    if (old / CRT__REF == 1 + more) crt__task_free(t);
}

// --- wakers

static void crt__waker_ref(void *t) { crt__task_ref(t); }
static void crt__waker_wake(void *t) { crt__task_wake(t); }
static void crt__waker_unref(void *t) { crt__task_unref(t, 1); }
static const crt_waker_vtable crt__task_waker = {crt__waker_ref, crt__waker_wake, crt__waker_unref};

CRTDEF crt_waker crt_waker_clone(crt_cx *cx)
{
    crt_waker w = {&crt__task_waker, cx->task};
    crt__task_ref(cx->task);
    return w;
}
CRTDEF void crt_wake_by_ref(const crt_waker *w)
{
    if (w->vtable) w->vtable->wake_by_ref(w->data);
}
CRTDEF void crt_waker_drop(crt_waker *w)
{
    if (!w) return;
    crt_waker old = *w;
    w->vtable = NULL;
    w->data = NULL;
    if (old.vtable) old.vtable->drop(old.data);
}
CRTDEF void crt_wake(crt_waker *w)
{
    crt_wake_by_ref(w);
    crt_waker_drop(w);
}
CRTDEF bool crt_waker_will_wake(const crt_waker *w, const crt_cx *cx)
{
    return w->vtable == &crt__task_waker && w->data == cx->task;
}

// --- leaves: what every operation that parks does first and last

static CRT__COLD void crt__leaf_moved(crt_cx *cx, const crt__op *op)
{
#ifdef CRT_DEBUG
    crt__log_to(crt__cx_log(cx), CRT_LOG_WARN,
             "task " CRT__ID ": %s was polled where %s is parked: an operand of CRT_AWAIT moved "
             "between two polls",
             (crt__id)cx->task->id, op->name, cx->slot->op->name);
#endif
    (void)op;
    crt__slot_cancel(cx->slot);
}
// What a wait takes: room; bytes to send, which last and may become more; an element, whose padding may be
// another each time.
enum { CRT__NONE_GIVEN = 0, CRT__BYTES_GIVEN, CRT__ELEMENT_GIVEN };
#ifdef CRT_DEBUG
// The beginning of what a wait that goes on was given at its last poll: by the place of the slot, of which a
// newer one may be.
typedef struct crt__operand {
    const crt_slot *slot;
    const char *call;
    const void *at;
    size_t n;
    unsigned char bytes[64];
} crt__operand;
static crt__operand crt__operands[1024];
static uint32_t crt__operands_lock;
static bool crt__operand_changed(const crt__operand *o, const unsigned char *at, size_t n, int given)
{
    size_t others = 0;
    for (size_t i = 0; i < n; i++) others += o->bytes[i] != at[i];
    return given == CRT__ELEMENT_GIVEN ? others * 2 > n : others > 0;
}
// Of what is done piece by piece the place must last as well.
static void crt__check_operand(crt_cx *cx, const char *call, const void *at, size_t n, int given, bool pieces)
{
    if (given == CRT__NONE_GIVEN) n = 0;
    n = crt__min(n, sizeof crt__operands->bytes);
    crt__lock(&crt__operands_lock);
    crt__operand *o = &crt__operands[(uint32_t)((uintptr_t)cx->slot >> 4) * 2654435761u % 1024];
    bool goes_on = cx->slot->op && o->slot == cx->slot && o->call == call;
    bool changed = goes_on && ((pieces && o->at != at) || crt__operand_changed(o, at, crt__min(n, o->n), given));
    *o = (crt__operand){cx->slot, call, at, n, {0}};
    if (n) memcpy(o->bytes, at, n);
    crt__unlock(&crt__operands_lock);
    if (changed)
        crt__log_to(crt__cx_log(cx), CRT_LOG_WARN,
                 "task " CRT__ID ": %s: what it was given is another at this poll than at the one before: a variable "
                 "of C does not survive an await, keep it in the frame", (crt__id)cx->task->id, call);
}
#else
#define crt__check_operand(cx, call, at, n, given, pieces) ((void)0)
#endif
// A cancellation that waits to be delivered is taken here: the node in the slot
// is unlinked and the operation returns CRT_UNWIND. A slot that is parked on
// something else belongs to a wait that was given up by hand: unlink that too.
static inline bool crt__leaf(crt_cx *cx, const crt__op *op, const void *object)
{
    crt_slot *slot = cx->slot;
    if (CRT__UNLIKELY(cx->unwind)) {
        cx->unwind = 0;
        crt__slot_cancel(slot);
        return false;
    }
    if (CRT__UNLIKELY(slot->op && (slot->op != op || slot->object != object))) crt__leaf_moved(cx, op);
    return true;
}
static inline void crt__slot_park(crt_cx *cx, crt_slot *slot, const crt__op *op, void *object)
{
    slot->op = op;
    slot->task = cx->task;
    slot->object = object;
    slot->next = slot->prev = NULL;
}
// One unit of the budget, for an operation that ends now. False: it is used up;
// return CRT_PENDING, the task runs again after the drivers. An operation that asks
// before it knows, and then parks, gives the unit back.
static inline bool crt__coop(crt_cx *cx)
{
    if (CRT__UNLIKELY(cx->unconstrained)) return true;
    if (CRT__LIKELY(cx->budget > 0)) {
        cx->budget--;
        return true;
    }
    cx->deferred = 2;
    return false;
}
static inline void crt__coop_return(crt_cx *cx) { cx->budget += !cx->unconstrained; }

CRTDEF bool crt_take_unwind(crt_cx *cx)
{
    bool was = cx->unwind != 0;
    cx->unwind = 0;
    if (CRT__UNLIKELY(was)) crt__slot_cancel(cx->slot);   // nobody waits there any more: the cleanup may
    return was;
}
// The result of an operation that cannot begin; a cancellation comes first. It takes of
// the budget as one that ends well does: a loop that goes on whatever it is told yields.
static CRT__COLD crt_poll crt__refuse(crt_cx *cx, crt_poll why)
{
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    return crt__coop(cx) ? why : CRT_PENDING;
}

// --- a word in which one task may wait
// 0, that task (with a reference), or how it ended, a number below CRT__WORD_TASK.

enum { CRT__WORD_TASK = 8 };

// Where it has not ended: see crt__word_park.
static CRT__OUTLINE uintptr_t crt__word_wait(crt_cx *cx, const crt__op *op, void *object, uintptr_t *word)
{
    uintptr_t now = 0;
    if (cx->slot->op) return 0;
    crt__task_ref(cx->task);
    if (crt__atomic_cas(word, &now, (uintptr_t)cx->task, CRT__ACQ_REL, CRT__ACQUIRE)) {
        crt__slot_park(cx, cx->slot, op, object);
        return 0;
    }
    crt__task_unref(cx->task, 1);
    return now;
}
// What the word holds: how it ended, or somebody else who waits. 0: the task waits.
static inline uintptr_t crt__word_park(crt_cx *cx, const crt__op *op, void *object, uintptr_t *word)
{
    uintptr_t now = crt__atomic_load(word, CRT__ACQUIRE);
    return now && now < CRT__WORD_TASK ? now : crt__word_wait(cx, op, object, word);
}
// The wait is given up. If the task is not there any more, whoever took it out wakes
// it, and owns the reference.
static void crt__word_unpark(uintptr_t *word, crt_task *t)
{
    uintptr_t me = (uintptr_t)t;
    if (crt__atomic_cas(word, &me, 0, CRT__ACQ_REL, CRT__ACQUIRE)) crt__task_unref(t, 1);
}
// Wakes who was in a word when it ended, if anybody was, and gives the reference back.
static void crt__word_wake(uintptr_t was)
{
    if (was < CRT__WORD_TASK) return;
    crt__task_wake((crt_task *)was);
    crt__task_unref((crt_task *)was, 1);
}

static void crt__nothing_to_cancel(crt_slot *slot) { (void)slot; }
static const crt__op crt__op_yield = {"yield", crt__nothing_to_cancel};

CRTDEF crt_poll crt_yield_now(crt_cx *cx)
{
    crt_slot *slot = cx->slot;
    if (!crt__leaf(cx, &crt__op_yield, NULL)) return CRT_UNWIND;
    if (slot->op) {
        slot->op = NULL;
        return 0;
    }
    crt__slot_park(cx, slot, &crt__op_yield, NULL);
    cx->deferred = 1;
    return CRT_PENDING;
}
CRTDEF crt_poll crt_consume_budget(crt_cx *cx)
{
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    return crt__coop(cx) ? 0 : CRT_PENDING;
}
CRTDEF uint32_t crt_coop_budget(const crt_cx *cx) { return cx->budget; }
CRTDEF void crt__unconstrain(crt_cx *cx)
{
    cx->unconstrained++;
}
CRTDEF crt_poll crt__constrain(crt_cx *cx, crt_poll r)
{
    cx->unconstrained--;
    return r;
}
CRTDEF uint64_t crt_task_id(const crt_cx *cx) { return cx->task->id; }
CRTDEF const char *crt_task_name(const crt_cx *cx) { return crt__task_name_of(cx->task); }

// --- panics

CRTDEF void crt__panic_at(crt_cx *cx, const char *file, const char *func, int line,
                          const char *format, ...)
{
    char text[480];
    va_list args;
    crt_task *t = cx->task;
    cx->panics++;
    crt__slot_cancel(cx->slot);   // as in crt_take_unwind
    int n = snprintf(text, sizeof text, "%s:%d (%s): ", file, line, func);
    if ((size_t)n >= sizeof text) n = 0;   // an error, too
    va_start(args, format);
    vsnprintf(text + n, sizeof text - (size_t)n, format, args);
    va_end(args);
    if (!(t->flags & CRT__TASK_PANICKED)) crt__ext_add_text(t, CRT__EXT_PANIC, text, sizeof text);   // the first stays
    t->flags |= CRT__TASK_PANICKED;
    crt__say(cx->rt, CRT_LOG_DEBUG, "task " CRT__ID " panicked: %s", (crt__id)t->id, text);
}

// As the value of a coroutine it would say "wait", with nothing to wake the task.
CRTDEF crt_poll crt__no_result(crt_cx *cx, const crt_site *begin, int line)
{
    crt__say(cx->rt, CRT_LOG_ERROR, "%s (%s:%d): CRT_RETURN(CRT_PENDING). Await the call, then return its result",
             begin->func, begin->file, line);
    crt__panic_at(cx, begin->file, begin->func, line, "CRT_RETURN(CRT_PENDING)");
    return CRT_UNWIND;
}
// With CRT_DEBUG: has the task room for what its coroutine takes its frame for? If not it panics, and ends.
CRTDEF bool crt__frame_fits(crt_frame *f, crt_cx *cx, size_t size, const crt_site *begin)
{
    crt_task *t = cx->task;
    if (size == CRT__NO_SIZE || t->flags & CRT__TASK_EXTERNAL || (void *)f != crt__task_frame(t)) return true;
    size_t room = (size_t)((char *)t + t->home->stride - (char *)f);
    if (size <= room) return true;
    crt__say(cx->rt, CRT_LOG_ERROR, "%s (%s:%u) has a frame of %lu bytes, and was spawned with one of at most %lu",
             begin->func, begin->file, (unsigned)begin->line, (unsigned long)size, (unsigned long)room);
    crt__panic_at(cx, begin->file, begin->func, (int)begin->line, "spawned with the frame of another coroutine");
    f->result = CRT_UNWIND;
    return false;
}
// True: the coroutine is over. False: run the switch again, at CRT_FINALLY.
CRTDEF bool crt__done_or_trap(crt_frame *f, crt_cx *cx, const crt_site *begin)
{
    if (f->resume == CRT__STATE_FINALLY || f->resume == CRT__STATE_DONE) return true;
    crt__say(cx->rt, CRT_LOG_ERROR,
             "%s (%s:%u) cannot resume at line %u: is that await inside a nested switch, or was "
             "the frame overwritten?",
             begin->func, begin->file, (unsigned)begin->line, (unsigned)f->resume);
    crt__panic_at(cx, begin->file, begin->func, (int)begin->line,
                  "cannot resume at line %u: an await inside a nested switch?", (unsigned)f->resume);
    crt__leave(f, CRT_UNWIND);   // to the cleanup; trapped in there, to the end
    return false;
}

// --- join handles: a reference to the task, nothing else

static crt_task *crt__joined(const crt_join_handle *h) { return (crt_task *)(uintptr_t)h; }

static void crt__op_join_cancel(crt_slot *slot)
{
    crt__word_unpark(&((crt_task *)slot->object)->join, slot->task);
}
static const crt__op crt__op_join = {"join", crt__op_join_cancel};

// Takes the outcome out of a completed task; drops the handle unless it panicked.
static int crt__join_take(crt_join_handle **join, intptr_t *result)
{
    crt_task *t = crt__joined(*join);
    if (t->flags & CRT__TASK_PANICKED) {
        t->flags |= CRT__TASK_SEEN;
        return CRT_EPANIC;
    }
    bool cancelled = (t->flags & CRT__TASK_WAS_CANCELLED) != 0;
    if (!cancelled && result) *result = t->u.result;
    *join = NULL;
    crt__task_unref(t, 1);
    return cancelled ? CRT_ECANCELED : 0;
}

CRTDEF crt_poll crt_join(crt_cx *cx, crt_join_handle **join, intptr_t *result)
{
    crt_slot *slot = cx->slot;
    crt_task *t = join ? crt__joined(*join) : NULL;
    if (!crt__leaf(cx, &crt__op_join, t)) return CRT_UNWIND;
    if (!t || t == cx->task) return crt__refuse(cx, CRT_EINVAL);   // it would wait for its own end
    uintptr_t word = crt__word_park(cx, &crt__op_join, t, &t->join);
    if (!word) return CRT_PENDING;
    if (word != CRT__JOIN_DONE) return crt__refuse(cx, CRT_EBUSY);   // somebody else waits for it
    if (!crt__coop(cx)) return CRT_PENDING;
    slot->op = NULL;
    return crt__join_take(join, result);
}

static void crt__drive_until(crt_runtime *rt, const uintptr_t *done);
static bool crt__is_forked(crt_runtime *rt, const char *what);
// A plain thread waits. Somebody may yet come and drive a runtime that nobody does; if that
// takes a second, it may be that nobody ever will. (A job has a thread of its own.)
static void crt__join_sleep(crt_task *t, uint32_t *done)
{
    crt_runtime *rt = t->home->rt;
    uint32_t turns = crt__atomic_load(&rt->driving, CRT__ACQUIRE);
    if (rt->config.flavor == CRT_CURRENT_THREAD && !(turns & 1) && !crt__is_job(t)) {
        crt__futex_wait(done, 0, CRT_SEC(1));
        if (!crt__atomic_load(done, CRT__ACQUIRE) && crt__atomic_load(&rt->driving, CRT__ACQUIRE) == turns)
            crt__say(rt, CRT_LOG_WARN, "crt_join_blocking waits for a task of a current-thread runtime that nobody "
                                       "drives: some thread has to call crt_block_on or crt_runtime_turn");
    }
    while (!crt__atomic_load(done, CRT__ACQUIRE)) crt__futex_wait(done, 0, -1);
}
static int crt__join_thread(crt_join_handle **join, intptr_t *result)
{
    crt_task *t = crt__joined(*join);
    uint32_t done = 0;
    uintptr_t none = 0;
    if (!CRT__THREADS) crt__drive_until(t->home->rt, &t->join);   // nobody else would
    if (crt__atomic_cas(&t->join, &none, (uintptr_t)&done | CRT__JOIN_THREAD, CRT__ACQ_REL, CRT__ACQUIRE))
        crt__join_sleep(t, &done);
    else if (none != CRT__JOIN_DONE)
        return CRT_EBUSY;
    return crt__join_take(join, result);
}
CRTDEF int crt_join_blocking(crt_join_handle **join, intptr_t *result)
{
    if (!join || !*join) return CRT_EINVAL;
    if (crt__tls.in_task) return CRT_ENESTED;
    if (!crt_is_finished(*join) && crt__is_forked(crt__joined(*join)->home->rt, "crt_join_blocking"))
        return CRT_ENOCONTEXT;
    return crt__join_thread(join, result);
}

static bool crt__job_cancel(crt_task *t);

// True: it was idle, and the caller must crt__submit it.
static bool crt__task_mark_aborted(crt_task *t)
{
    crt__trace_wake(t);
    return crt__sits_idle(crt__atomic_or(&t->state, CRT__CANCELLED | CRT__NOTIFIED, CRT__ACQ_REL));
}
CRTDEF void crt_abort(crt_join_handle *join)
{
    crt_task *t = crt__joined(join);
    if (!t) return;
    if (crt__is_job(t)) {   // it stops only if it has not begun
        crt__job_cancel(t);
        return;
    }
    if (crt__task_mark_aborted(t)) crt__submit(t);
}

CRTDEF bool crt_is_finished(const crt_join_handle *join)
{
    return !join || crt__atomic_load(&crt__joined(join)->join, CRT__ACQUIRE) == CRT__JOIN_DONE;
}

CRTDEF void crt_detach(crt_join_handle **join)
{
    if (!join || !*join) return;
    crt_task *t = crt__joined(*join);
    *join = NULL;
    uint32_t old = crt__atomic_and(&t->state, ~(uint32_t)CRT__JOIN, CRT__ACQ_REL);
    // Completed with a handle: its failure was left for us to see.
    if (old & CRT__COMPLETE) {
        if (crt__task_failed(t) && !(t->flags & CRT__TASK_SEEN)) crt__report_failure(t);
    }
    crt__task_unref(t, 1);
}

CRTDEF const char *crt_join_panic_message(const crt_join_handle *join)
{
    if (!join || !crt_is_finished(join)) return NULL;
    crt_task *t = crt__joined(join);
    if (!(t->flags & CRT__TASK_PANICKED)) return NULL;
    const char *text = crt__ext_text_of(t, CRT__EXT_PANIC);
    return text ? text : "(no memory for the message)";
}
CRTDEF uint64_t crt_join_id(const crt_join_handle *join) { return join ? crt__joined(join)->id : 0; }

// --- abort handles: a reference to the task

CRTDEF crt_abort_handle *crt_join_abort_handle(const crt_join_handle *join)
{
    return crt_abort_handle_clone((crt_abort_handle *)(uintptr_t)join);
}
CRTDEF crt_abort_handle *crt_abort_handle_clone(crt_abort_handle *a)
{
    if (a) crt__task_ref((crt_task *)a);
    return a;
}
CRTDEF void crt_abort_handle_abort(crt_abort_handle *a) { crt_abort((crt_join_handle *)a); }
CRTDEF bool crt_abort_handle_is_finished(const crt_abort_handle *a)
{
    if (crt_is_finished((const crt_join_handle *)a)) return true;   // no later than the join says so
    return (crt__atomic_load(&((const crt_task *)(const void *)a)->state, CRT__ACQUIRE) & CRT__COMPLETE) != 0;
}
CRTDEF uint64_t crt_abort_handle_id(const crt_abort_handle *a) { return crt_join_id((const crt_join_handle *)a); }
CRTDEF void crt_abort_handle_drop(crt_abort_handle **a)
{
    crt_task *t = a ? (crt_task *)*a : NULL;
    if (!t) return;
    *a = NULL;
    crt__task_unref(t, 1);
}

// ---------------------------------------------------------------------------
// >>run queue     the injection queue and the ring with work stealing
// ---------------------------------------------------------------------------
//
// Injection queue: an intrusive linked list after Dmitry Vyukov ("intrusive MPSC
// node-based queue"). A producer swings `tail` with one exchange and then links
// the task before it: wait-free, no lock. Between the two steps the chain is
// broken; the consumer then sees "nothing yet", and the producer's notification,
// which comes after the link, makes somebody look again. Consumers take turns by
// a lock, which no producer touches.
// `length` grows before the push and shrinks after the pop: 0 means empty.
//
// Ring: 256 slots, one owner at `tail`, thieves at `head`, after Tokio. head packs
// two 32-bit indices: `real`, where the next task is taken, and `steal`, which
// lags behind while a thief copies tasks out.
//
//      steal     real                 tail
//        v         v                    v
//    . . x x x x x t t t t t t t t t t t . .     x claimed by a thief, t tasks
//
// Invariants: tail - steal <= 256; only the owner moves tail; head moves by CAS;
// steal != real means one thief is at work, and no other may begin. A slot is
// written by the owner only outside [steal, tail). Indices are 32 bits wide, so
// a stale CAS would need 2^32 tasks to pass inside one window.
// Orders: the owner's release store of tail publishes the slot to a thief's
// acquire load; a thief's final CAS on head (release) hands slots back to the
// owner's acquire load.

static void crt__inject_init(crt__inject *q)
{
    memset(q, 0, sizeof *q);
    q->head = q->tail = &q->dummy;
}
static void crt__inject_link(crt__inject *q, crt_task *first, crt_task *last)
{
    crt__atomic_store(&last->next, NULL, CRT__RELAXED);
    crt_task *before = crt__atomic_xchg(&q->tail, last, CRT__ACQ_REL);
    CRT__AT("inject link");
    crt__atomic_store(&before->next, first, CRT__RELEASE);
}
static void crt__inject_push(crt__inject *q, crt_task *first, crt_task *last, size_t n)
{
    crt__atomic_add(&q->length, n, CRT__SEQ_CST);
    crt__inject_link(q, first, last);
}
static size_t crt__inject_length(crt__inject *q) { return crt__atomic_load(&q->length, CRT__SEQ_CST); }

// One task, or NULL: empty, or a producer is between its two steps. Under lock.
static crt_task *crt__inject_take(crt__inject *q)
{
    crt_task *head = q->head, *next = crt__atomic_load(&head->next, CRT__ACQUIRE);
    if (head == &q->dummy) {
        if (!next) return NULL;
        q->head = head = next;
        next = crt__atomic_load(&head->next, CRT__ACQUIRE);
    }
    if (!next) {
        if (crt__atomic_load(&q->tail, CRT__ACQUIRE) != head) return NULL;
        crt__inject_link(q, &q->dummy, &q->dummy);   // so that head may leave
        next = crt__atomic_load(&head->next, CRT__ACQUIRE);
        if (!next) return NULL;
    }
    q->head = next;
    crt__atomic_sub(&q->length, 1, CRT__RELEASE);
    return head;
}
static CRT__OUTLINE crt_task *crt__inject_pop_some(crt__inject *q)
{
    crt__lock(&q->lock);
    crt_task *t = crt__inject_take(q);
    crt__unlock(&q->lock);
    return t;
}
static inline crt_task *crt__inject_pop(crt__inject *q)
{
    return CRT__LIKELY(!crt__atomic_load(&q->length, CRT__ACQUIRE)) ? NULL : crt__inject_pop_some(q);
}

static uint64_t crt__pack(uint32_t steal, uint32_t real) { return (uint64_t)steal << 32 | real; }

// Full: keep the older half (it has waited longer), send the newer half and `t`
// to the injection queue. Emptying the ring by one CAS makes the slots ours; the
// older half is in its place already, since indices wrap at 256.
static bool crt__ring_overflow(crt__ring *r, crt__inject *inject, uint32_t real, uint32_t tail,
                               crt_task *t)
{
    uint64_t expected = crt__pack(real, real);
    if (!crt__atomic_cas(&r->head, &expected, crt__pack(tail, tail), CRT__ACQ_REL, CRT__ACQUIRE))
        return false;
    enum { HALF = CRT__RING / 2 };
    crt_task *first = NULL, *last = NULL;
    for (uint32_t i = HALF; i < CRT__RING; i++) {
        crt_task *x = crt__atomic_load(&r->slots[(real + i) % CRT__RING], CRT__RELAXED);
        if (last) crt__atomic_store(&last->next, x, CRT__RELAXED);
        else first = x;
        last = x;
    }
    crt__atomic_store(&r->tail, tail + HALF, CRT__RELEASE);
    crt__atomic_store(&last->next, t, CRT__RELAXED);
    crt__inject_push(inject, first, t, HALF + 1);
    return true;
}

// The owner's end. False: t went to the injection queue, perhaps with others.
static bool crt__ring_push(crt__ring *r, crt__inject *inject, crt_task *t)
{
    for (;;) {
        uint64_t head = crt__atomic_load(&r->head, CRT__ACQUIRE);
        uint32_t steal = (uint32_t)(head >> 32), real = (uint32_t)head;
        uint32_t tail = crt__atomic_load(&r->tail, CRT__RELAXED);
        if (CRT__LIKELY(tail - steal < CRT__RING)) {
            crt__atomic_store(&r->slots[tail % CRT__RING], t, CRT__RELAXED);
            crt__atomic_store(&r->tail, tail + 1, CRT__RELEASE);
            return true;
        }
        if (steal != real) {   // a thief makes room right now: do not wait for it
            crt__inject_push(inject, t, t, 1);
            return false;
        }
        if (crt__ring_overflow(r, inject, real, tail, t)) return false;
    }
}
static crt_task *crt__ring_pop(crt__ring *r)
{
    uint64_t head = crt__atomic_load(&r->head, CRT__ACQUIRE);
    for (;;) {
        uint32_t steal = (uint32_t)(head >> 32), real = (uint32_t)head;
        uint32_t tail = crt__atomic_load(&r->tail, CRT__RELAXED);
        if (real == tail) return NULL;
        uint64_t next = crt__pack(steal == real ? real + 1 : steal, real + 1);
        if (crt__atomic_cas_weak(&r->head, &head, next, CRT__ACQ_REL, CRT__ACQUIRE)) {
            if (real + 1 != tail) crt__task_prefetch(crt__atomic_load(&r->slots[(real + 1) % CRT__RING], CRT__RELAXED));
            return crt__atomic_load(&r->slots[real % CRT__RING], CRT__RELAXED);
        }
    }
}
static uint32_t crt__ring_length(crt__ring *r)
{
    uint32_t real = (uint32_t)crt__atomic_load(&r->head, CRT__ACQUIRE);
    return crt__atomic_load(&r->tail, CRT__ACQUIRE) - real;
}
// Moves half of `from` into `to`, whose owner calls, and returns the last of them
// to run at once. NULL: nothing there, another thief, or no room.
static crt_task *crt__ring_steal(crt__ring *from, crt__ring *to, uint32_t *stolen)
{
    uint32_t to_tail = crt__atomic_load(&to->tail, CRT__RELAXED);
    uint32_t to_steal = (uint32_t)(crt__atomic_load(&to->head, CRT__ACQUIRE) >> 32);
    if (to_tail - to_steal > CRT__RING / 2) return NULL;
    uint64_t head = crt__atomic_load(&from->head, CRT__ACQUIRE);
    uint32_t first, n;
    for (;;) {
        uint32_t steal = (uint32_t)(head >> 32), real = (uint32_t)head;
        uint32_t tail = crt__atomic_load(&from->tail, CRT__ACQUIRE);
        n = tail - real;
        if (steal != real || n == 0 || n > CRT__RING) return NULL;
        n -= n / 2;
        first = real;
        if (crt__atomic_cas_weak(&from->head, &head, crt__pack(steal, real + n), CRT__ACQ_REL, CRT__ACQUIRE))
            break;
    }
    for (uint32_t i = 0; i < n; i++) {
        crt_task *t = crt__atomic_load(&from->slots[(first + i) % CRT__RING], CRT__RELAXED);
        crt__atomic_store(&to->slots[(to_tail + i) % CRT__RING], t, CRT__RELAXED);
    }
    head = crt__pack(first, first + n);
    for (;;) {   // hand the slots back; the owner may have popped meanwhile
        uint32_t real = (uint32_t)head;
        if (crt__atomic_cas_weak(&from->head, &head, crt__pack(real, real), CRT__ACQ_REL, CRT__ACQUIRE))
            break;
    }
    *stolen = n;
    crt_task *last = crt__atomic_load(&to->slots[(to_tail + n - 1) % CRT__RING], CRT__RELAXED);
    if (n > 1) crt__atomic_store(&to->tail, to_tail + n - 1, CRT__RELEASE);
    return last;
}

// ---------------------------------------------------------------------------
// >>wheel         hierarchical timing wheel
// ---------------------------------------------------------------------------
// Six levels of 64 slots (Varghese and Lauck, scheme 7). A slot of level 0 is one
// tick of 1 ms, of level n it is 64^n ticks:
//
//   level 0   64 x 1 ms     . . . T . . . . T . .      due within 64 ms
//   level 1   64 x 64 ms    . . . . . T . . . . .      within 4 s
//   level 2   64 x 4.1 s    ...                        4.4 min, 4.7 h, 12.4 d, 2.2 y
//
// A deadline lies at the level of the highest 6-bit digit in which it differs
// from `elapsed`. When time reaches a slot above level 0, its timers move down.
// Each worker has a wheel with a lock of its own, which other threads take only
// to cancel a timer that moved with its task, or, from inside the driver, to serve
// a wheel in which something is due. The word `next` tells that without the lock.
// Invariants: no timer in a wheel is due at or before `elapsed`; bit i of
// occupied[l] is set if and only if slots[l][i] is not empty; `next` is never
// later than the earliest timer. At the top level the slot that `elapsed` is in
// belongs to the next turn of the wheel. The list of a slot is in order of
// insertion, so that timers of one tick fire in the order they were set; the
// first one's `prev` is the last one.
// A timer is a slot: value = deadline tick, extra = level * 64 + index, object = the wheel,
// state = QUEUED or FIRED (changed under the lock), or NEVER, which is in no wheel (CRT_FOREVER).
// A timer set by a poll stays in a list of its worker, FRESH, until that poll ends: only
// then can anybody but the poll itself have to do with it, and many a timer has been taken
// down by then, without the lock. Its task cannot be run meanwhile, so it is no later for it.

// Ticks: whoever sleeps for that long past a timer went by a clock that has jumped since.
enum { CRT__OVERSLEPT = 100 };
enum { CRT__TIMER_QUEUED = 1, CRT__TIMER_FIRED = 2, CRT__TIMER_NEVER = 3, CRT__TIMER_FRESH = 4 };

// At the end of a list, whose first one's `prev` is the last one; out of it.
static inline void crt__timers_link(crt_slot **head, crt_slot *t)
{
    crt_slot *first = *head;
    t->next = NULL;
    if (first) {
        t->prev = first->prev;
        t->prev->next = t;
        first->prev = t;
    } else {
        *head = t->prev = t;
    }
}
static inline void crt__timers_unlink(crt_slot **head, crt_slot *t)
{
    if (t->next) t->next->prev = t->prev;
    else (*head)->prev = t->prev;
    if (t != *head) t->prev->next = t->next;
    else *head = t->next;
}
static void crt__wheel_link(crt__wheel *w, crt_slot *t)
{
    uint64_t differ = (w->elapsed ^ t->value) | (CRT__WHEEL_SLOTS - 1);
    uint32_t level = (63 - crt__clz64(differ)) / 6;
    if (level >= CRT__WHEEL_LEVELS) level = CRT__WHEEL_LEVELS - 1;
    uint32_t index = (uint32_t)(t->value >> (level * 6)) % CRT__WHEEL_SLOTS;
    t->extra = level * CRT__WHEEL_SLOTS + index;
    crt__timers_link(&w->slots[level][index], t);
    w->occupied[level] |= (uint64_t)1 << index;
}
static void crt__wheel_unlink(crt__wheel *w, crt_slot *t)
{
    uint32_t place = t->extra;
    uint32_t level = place / CRT__WHEEL_SLOTS, index = place % CRT__WHEEL_SLOTS;
    crt__timers_unlink(&w->slots[level][index], t);
    if (!w->slots[level][index]) w->occupied[level] &= ~((uint64_t)1 << index);
}
// The tick at which the next occupied slot begins; UINT64_MAX if there is none.
static uint64_t crt__wheel_next(const crt__wheel *w, uint32_t *level_out, uint32_t *index_out)
{
    for (uint32_t level = 0; level < CRT__WHEEL_LEVELS; level++) {
        uint64_t bits = w->occupied[level];
        if (!bits) continue;
        uint32_t shift = level * 6, now = (uint32_t)(w->elapsed >> shift) % CRT__WHEEL_SLOTS;
        // Look from the slot after the current one, around to the current one.
        uint32_t from = (now + 1) % CRT__WHEEL_SLOTS;
        uint64_t turned = from ? (bits >> from | bits << (64 - from)) : bits;
        uint32_t ahead = crt__ctz64(turned) + 1;
        *level_out = level;
        *index_out = (now + ahead) % CRT__WHEEL_SLOTS;
        return ((w->elapsed >> shift) + ahead) << shift;
    }
    return UINT64_MAX;
}
// False: the deadline is past already.
static bool crt__wheel_insert(crt__wheel *w, crt_slot *t)
{
    if (t->value <= w->elapsed) return false;
    crt__wheel_link(w, t);
    t->state = CRT__TIMER_QUEUED;
    uint32_t level = t->extra / CRT__WHEEL_SLOTS;
    uint64_t begins = t->value >> (level * 6) << (level * 6);
    if (begins < w->next) crt__atomic_store(&w->next, begins, CRT__SEQ_CST);
    return true;
}
// The wheel says that a deadline is past. It is not, by the clock, if that has stepped back
// since the wheel was served: then it is due as soon as the clock is there again.
static CRT__COLD bool crt__wheel_insert_ahead(crt__wheel *w, crt_slot *t, crt_instant left)
{
    if (left <= 0) return false;
    t->value = w->elapsed + 1;
    return crt__wheel_insert(w, t);
}
// `next` may name a timer that was cancelled since: look again.
static void crt__wheel_refresh(crt__wheel *w)
{
    uint32_t level, index;
    crt__lock(&w->lock);
    crt__atomic_store(&w->next, crt__wheel_next(w, &level, &index), CRT__SEQ_CST);
    crt__unlock(&w->lock);
}
static void crt__delay_fire(crt_slot *t);
// A timer wakes its task; an entry of a delay queue has none and joins those due.
static void crt__timer_fire(crt_slot *t, crt__list *ready)
{
    crt_task *task = t->task;
    if (CRT__UNLIKELY(!task)) {
        crt__delay_fire(t);
        return;
    }
    crt__atomic_store(&t->state, CRT__TIMER_FIRED, CRT__RELEASE);
    crt__wake_into(ready, task);
}
// Moves time to `now` and wakes what is due, into `ready`. Under lock.
static uint32_t crt__wheel_advance(crt__wheel *w, uint64_t now, crt__list *ready)
{
    uint32_t level = 0, index = 0, fired = 0;
    for (;;) {
        uint64_t begins = crt__wheel_next(w, &level, &index);
        if (begins > now) {
            if (now > w->elapsed) w->elapsed = now;
            crt__atomic_store(&w->next, crt__wheel_next(w, &level, &index), CRT__SEQ_CST);
            return fired;
        }
        w->elapsed = begins;
        crt_slot *t = w->slots[level][index];
        w->slots[level][index] = NULL;
        w->occupied[level] &= ~((uint64_t)1 << index);
        while (t) {
            crt_slot *after = t->next;
            if (t->value <= begins) {
                crt__timer_fire(t, ready);
                fired++;
            } else {
                crt__wheel_link(w, t);
            }
            t = after;
        }
    }
}

// --- the runtime's clock

// Real: nanoseconds since the runtime began. Paused: what it was set to.
static crt_instant crt__rt_now(crt_runtime *rt)
{
    if (CRT__UNLIKELY(crt__atomic_load(&rt->clock_paused, CRT__ACQUIRE)))
        return crt__atomic_load(&rt->clock_offset, CRT__ACQUIRE);
    return crt__clock() - crt__atomic_load(&rt->clock_base, CRT__ACQUIRE);
}
CRTDEF crt_instant crt_now(const crt_cx *cx) { return crt__rt_now(cx->rt); }

static uint64_t crt__tick_floor(crt_instant t) { return t <= 0 ? 0 : (uint64_t)t / 1000000; }
static uint64_t crt__tick_ceil(crt_instant t) { return t <= 0 ? 0 : ((uint64_t)t + 999999) / 1000000; }
static crt_instant crt__instant_after(crt_instant now, crt_duration d)
{
    return d > 0 && now > INT64_MAX - d ? INT64_MAX : now + d;
}
static bool crt__has_time(const crt_runtime *rt) { return (rt->config.drivers & CRT_DRIVER_TIME) != 0; }
static CRT__COLD int crt__no_time(crt_runtime *rt, const char *what)
{
    crt__say(rt, CRT_LOG_ERROR, "%s needs CRT_DRIVER_TIME in crt_config.drivers; this runtime has none", what);
    return CRT_ENODRIVER;
}

// Wakes the timers that are due in one wheel.
static uint32_t crt__wheel_serve(crt_runtime *rt, crt__wheel *wheel, crt_instant now)
{
    crt__list ready = {NULL, NULL};
    uint64_t tick = crt__tick_floor(now);
    (void)rt;
    if (crt__atomic_load(&wheel->next, CRT__ACQUIRE) > tick) return 0;
    crt__lock(&wheel->lock);
    uint32_t fired = crt__wheel_advance(wheel, tick, &ready);
    crt__unlock(&wheel->lock);
    crt__submit_list(&ready);
    return fired;
}
static uint32_t crt__wheels_serve_all(crt_runtime *rt)
{
    uint32_t fired = 0;
    crt_instant now = -1;
    for (uint32_t i = 0; i < rt->worker_count; i++) {
        crt__wheel *wheel = &rt->workers[i].wheel;
        if (crt__atomic_load(&wheel->next, CRT__RELAXED) == UINT64_MAX) continue;
        if (now < 0) now = crt__rt_now(rt);
        fired += crt__wheel_serve(rt, wheel, now);
    }
    return fired;
}
static bool crt__wheels_any(crt_runtime *rt)
{
    for (uint32_t i = 0; i < rt->worker_count; i++)
        if (crt__atomic_load(&rt->workers[i].wheel.next, CRT__RELAXED) != UINT64_MAX) return true;
    return false;
}
// The earliest event of all wheels, as an instant; CRT_FOREVER if there is none.
static crt_instant crt__wheels_next(crt_runtime *rt)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < rt->worker_count; i++) {
        uint64_t n = crt__atomic_load(&rt->workers[i].wheel.next, CRT__SEQ_CST);
        if (n < next) next = n;
    }
    return next > (uint64_t)INT64_MAX / 1000000 ? CRT_FOREVER : (crt_instant)(next * 1000000);
}

// --- timers as leaves

static void crt__timer_cancel(crt_slot *slot)
{
    crt__wheel *wheel = slot->object;
    if (crt__atomic_load(&slot->state, CRT__RELAXED) == CRT__TIMER_FRESH) {
        crt__timers_unlink(&wheel->fresh, slot);
        slot->state = 0;
        return;
    }
    crt__lock(&wheel->lock);
    if (slot->state == CRT__TIMER_QUEUED) crt__wheel_unlink(wheel, slot);
    slot->state = 0;
    crt__unlock(&wheel->lock);
}
static const crt__op crt__op_sleep = {"sleep", crt__timer_cancel};

static void crt__timers_announce(crt__worker *w);

// Into the wheel. False: due already. `*earlier`: it may have to be told.
static bool crt__timer_insert(crt_runtime *rt, crt__wheel *wheel, crt_slot *slot, uint64_t tick, bool *earlier)
{
    uint64_t before = wheel->next;
    // A wheel that nobody served for a while: nothing lies between, so move on.
    if (tick > wheel->elapsed && tick < before) wheel->elapsed = tick;
    bool queued = crt__wheel_insert(wheel, slot);
    if (CRT__UNLIKELY(!queued)) {
        crt_instant at = (crt_instant)crt__min(slot->value, (uint64_t)INT64_MAX / 1000000) * 1000000;
        queued = crt__wheel_insert_ahead(wheel, slot, at - crt__rt_now(rt));
    }
    if (wheel->next < before || (tick > before && tick - before > CRT__OVERSLEPT)) *earlier = true;
    return queued;
}
// The task has no worker at the moment (crt_block_in_place): into the first one's wheel.
static CRT__COLD bool crt__timer_start_off_worker(crt_runtime *rt, crt_slot *slot, crt_instant now)
{
    crt__worker *w = &rt->workers[0];
    bool earlier = false;
    crt__lock(&w->wheel.lock);
    bool queued = crt__timer_insert(rt, &w->wheel, slot, crt__tick_floor(now), &earlier);
    crt__unlock(&w->wheel.lock);
    if (!queued) slot->op = NULL;
    if (earlier) crt__timers_announce(w);
    return queued;
}
// Puts a slot among those that go into the wheel of the worker that runs the task when
// this poll ends. False: due now.
static bool crt__timer_start(crt_cx *cx, crt_slot *slot, crt_instant at, crt_instant now)
{
    crt__worker *w = cx->worker;
    slot->value = crt__tick_ceil(at);
    if (CRT__UNLIKELY(!w)) w = cx->rt->workers;
    crt__wheel *wheel = &w->wheel;
    crt__slot_park(cx, slot, &crt__op_sleep, wheel);
    slot->state = CRT__TIMER_NEVER;
    if (CRT__UNLIKELY(at == CRT_FOREVER)) return true;
    if (CRT__UNLIKELY(!cx->worker)) return crt__timer_start_off_worker(cx->rt, slot, now);
    slot->state = CRT__TIMER_FRESH;
    crt__timers_link(&wheel->fresh, slot);
    wheel->fresh_now = now;
    return true;
}
// A poll has ended, or goes on without its worker: what it has set and not taken down
// goes into the wheel. Before anybody else can run the task.
static CRT__OUTLINE void crt__timers_settle(crt__worker *w)
{
    crt__wheel *wheel = &w->wheel;
    crt__list due = {NULL, NULL};
    bool earlier = false;
    crt_slot *t = wheel->fresh;
    uint64_t tick = crt__tick_floor(wheel->fresh_now);
    wheel->fresh = NULL;
    crt__lock(&wheel->lock);
    for (crt_slot *after; t; t = after) {
        after = t->next;
        if (CRT__UNLIKELY(!crt__timer_insert(w->rt, wheel, t, tick, &earlier)))
            crt__timer_fire(t, &due);
    }
    crt__unlock(&wheel->lock);
    crt__submit_list(&due);
    // The thread that waits in the driver may have to wake sooner; the current thread's is this one.
    if (earlier && w->ring) crt__timers_announce(w);
}
// The timer in this slot has fired. The lock makes sure that whoever fired it has
// left the slot alone for good.
static bool crt__timer_fired(crt_slot *slot)
{
    crt__wheel *wheel = slot->object;
    if (crt__atomic_load(&slot->state, CRT__ACQUIRE) != CRT__TIMER_FIRED) return false;
    crt__lock_pass(&wheel->lock);
    slot->op = NULL;
    return true;
}

// `when` is used at the first poll of a wait only, as is `known`: the clock, if the
// caller has read it in this poll, else 0.
static crt_poll crt__sleep(crt_cx *cx, int64_t when, bool absolute, crt_instant known)
{
    crt_slot *slot = cx->slot;
    if (!crt__leaf(cx, &crt__op_sleep, slot->op ? slot->object : NULL)) return CRT_UNWIND;
    if (slot->op) {
        if (crt__atomic_load(&slot->state, CRT__ACQUIRE) != CRT__TIMER_FIRED) return CRT_PENDING;
        if (!crt__coop(cx)) return CRT_PENDING;
        crt__timer_fired(slot);
        return 0;
    }
    if (!crt__has_time(cx->rt)) return crt__refuse(cx, crt__no_time(cx->rt, "a timer"));
    if (!crt__coop(cx)) return CRT_PENDING;
    if (!absolute && when <= 0) return 0;
    crt_instant now = known ? known : crt__rt_now(cx->rt);
    crt_instant at = absolute ? when : crt__instant_after(now, when);
    if (at <= now) return 0;
    if (!crt__timer_start(cx, slot, at, now)) return 0;
    crt__coop_return(cx);
    return CRT_PENDING;
}
CRTDEF crt_poll crt_sleep(crt_cx *cx, crt_duration d) { return crt__sleep(cx, d, false, 0); }
CRTDEF crt_poll crt_sleep_until(crt_cx *cx, crt_instant t) { return crt__sleep(cx, t, true, 0); }

CRTDEF void crt_timer_stop(crt_timer *t)
{
    crt__slot_cancel(&t->slot);
    crt__group_unlink(&t->group);
    t->set = 0;
}
// The clock is kept for a wait that begins in the same poll: reading it is a good part
// of what a timer costs.
static inline void crt__timer_due(crt_cx *cx, crt_timer *t, int64_t when, bool absolute)
{
    crt_instant now = absolute ? 0 : crt__rt_now(cx->rt);
    t->deadline = absolute ? when : crt__instant_after(now, when);
    t->slot.value = (uint64_t)now;
}
static inline uint32_t crt__polls_of(const crt__worker *w)
{
    return (uint32_t)crt__atomic_load(&w->polls, CRT__RELAXED);
}
// Which poll this is, never 0. A worker's come again after two billion of them; of another worker's one in as many is
// the same. Of no worker: 0.
static inline uint32_t crt__poll_number(const crt_cx *cx)
{
    const crt__worker *w = cx->worker;
    return w ? (crt__polls_of(w) * 0x9e3779b1u + w->index) | 0x80000000u : 0;
}
// Of a time-out that goes on it is no timer to be set or awaited.
static CRT__COLD bool crt__timer_is_free(crt_cx *cx, const crt_timer *t)
{
    if (!t->phase) return true;
    crt__say(cx->rt, CRT_LOG_ERROR, "a crt_timer is set or awaited while a crt_timeout uses it: take another");
    return false;
}
// Out of the wheel, for another deadline. Whoever waits has to look again, after this poll.
static CRT__COLD bool crt__timer_take_down(crt_cx *cx, crt_timer *t)
{
    if (!crt__timer_is_free(cx, t)) return false;
    crt_task *waiter = t->slot.op ? t->slot.task : NULL;
    crt_timer_stop(t);
    if (waiter) crt__task_wake(waiter);
    return true;
}
CRTDEF void crt_timer_reset_at(crt_cx *cx, crt_timer *t, crt_instant at)
{
    if (CRT__UNLIKELY(t->group.pprev != NULL) && !crt__timer_take_down(cx, t)) return;
    crt__timer_due(cx, t, at, true);
    t->reset_in = 0;
    t->set = 1;
}
CRTDEF void crt_timer_reset(crt_cx *cx, crt_timer *t, crt_duration d)
{
    if (CRT__UNLIKELY(t->group.pprev != NULL) && !crt__timer_take_down(cx, t)) return;
    crt__timer_due(cx, t, d, false);
    t->reset_in = crt__atomic_load(&cx->rt->clock_paused, CRT__RELAXED) ? 0 : crt__poll_number(cx);
    t->set = 1;
}
CRTDEF bool crt_timer_is_elapsed(const crt_cx *cx, const crt_timer *t)
{
    return t->set && crt__rt_now(cx->rt) >= t->deadline;
}
// A timer waits in its own slot, so that a reset reaches it between two polls.
CRTDEF crt_poll crt_timer_wait(crt_cx *cx, crt_timer *t)
{
    crt_slot *outer = cx->slot;
    if (CRT__UNLIKELY(!t->set || t->phase)) return (void)crt__timer_is_free(cx, t), crt__refuse(cx, CRT_EINVAL);
    if (!t->group.pprev) crt__group_link(cx, &t->group, &t->slot, 1, 0);
    cx->slot = &t->slot;
    bool known = t->reset_in && t->reset_in == crt__poll_number(cx);
    t->reset_in = 0;   // once: where the clock was kept, a wait that begins keeps its deadline
    crt_poll r = crt__sleep(cx, t->deadline, true, known ? (crt_instant)t->slot.value : 0);
    cx->slot = outer;
    if (r != CRT_PENDING) crt__group_unlink(&t->group);
    return r;
}

CRTDEF void crt_interval_init(crt_interval *i, crt_duration period, crt_missed behavior)
{
    i->period = period;
    i->next = 0;
    i->behavior = behavior;
    i->started = 0;
}
CRTDEF void crt_interval_reset(crt_cx *cx, crt_interval *i)
{
    i->next = crt__instant_after(crt__rt_now(cx->rt), i->period);
    i->started = 1;
}
CRTDEF crt_poll crt_interval_tick(crt_cx *cx, crt_interval *i)
{
    if (!i) return crt__refuse(cx, CRT_EINVAL);
    if (i->period <= 0) return crt__refuse(cx, CRT_EINVAL);
    if (!i->started) {
        i->next = crt__rt_now(cx->rt);
        i->started = 1;
    }
    bool moved = cx->slot->op == &crt__op_sleep && cx->slot->value != crt__tick_ceil(i->next);
    if (CRT__UNLIKELY(moved && !cx->unwind)) crt__slot_cancel(cx->slot);   // reset since
    crt_poll r = crt__sleep(cx, i->next, true, 0);
    if (r != 0) return r;
    crt_instant due = i->next, now = crt__rt_now(cx->rt);
    i->next = crt__instant_after(due, i->period);
    if (now - due <= CRT_MS(5)) return 0;   // in time, as Tokio counts
    if (i->behavior == CRT_DELAY) i->next = crt__instant_after(now, i->period);
    if (i->behavior == CRT_SKIP)
        i->next = crt__instant_after(now, i->period - (now - due) % i->period);
    return 0;
}

// --- delay queue: a wheel of its own, whose entries have no task
// The lock of the queue guards its wheel, what is due, and the waiter. The one who
// waits sleeps on the queue's timer until the wheel's next event; an insertion that
// comes before that wakes it, to sleep for less. slot.object is the queue.

static void crt__delay_fire(crt_slot *t)
{
    crt_delay_queue *q = t->object;
    t->state = CRT__TIMER_FIRED;
    t->next = NULL;
    t->prev = q->crt__due_last;
    if (t->prev) t->prev->next = t;
    else q->crt__due = t;
    q->crt__due_last = t;
}
// Out of wherever it is; under the lock.
static void crt__delay_unlink(crt_delay_queue *q, crt_slot *t)
{
    if (t->state == CRT__TIMER_QUEUED) {
        crt__wheel_unlink(q->crt__wheel, t);
    } else {
        if (t->prev) t->prev->next = t->next;
        else if (t->state == CRT__TIMER_FIRED) q->crt__due = t->next;
        else q->crt__never = t->next;
        if (t->next) t->next->prev = t->prev;
        else if (t->state == CRT__TIMER_FIRED) q->crt__due_last = t->prev;
    }
    t->state = 0;
    t->object = NULL;
    q->crt__len--;
}
// Into the wheel, or among those due; under the lock. True: somebody waits for longer.
static bool crt__delay_link(crt_delay_queue *q, crt_delay *d, crt_instant at, crt_instant now)
{
    crt__wheel *w = q->crt__wheel;
    uint64_t before = w->next, tick = crt__tick_floor(now);
    crt_slot *t = &d->crt__slot;
    memset(t, 0, sizeof *t);
    t->object = q;
    t->value = crt__tick_ceil(at);
    d->deadline = at;
    q->crt__len++;
    if (at == CRT_FOREVER) {
        t->state = CRT__TIMER_NEVER;
        t->next = q->crt__never;
        if (t->next) t->next->prev = t;
        q->crt__never = t;
        return false;
    }
    // Alone it may also go back: a queue that was emptied goes on with another runtime, whose clock is another.
    if (q->crt__len == 1 || (tick > w->elapsed && tick < before)) w->elapsed = tick;
    if (crt__wheel_insert(w, t) || crt__wheel_insert_ahead(w, t, at > now ? at - now : 0)) return w->next < before;
    crt__delay_fire(t);
    return true;
}
// Who is woken stays the one who waits until it has looked: the place and its timer are not another's before.
static void crt__delay_wake(crt_delay_queue *q, crt__list *ready)
{
    if (q->crt__waiter) crt__wake_into(ready, q->crt__waiter->task);
}
static int crt__delay_put(crt_cx *cx, crt_delay_queue *q, crt_delay *d, crt_instant at, bool again)
{
    crt__list ready = {NULL, NULL};
    if (!crt__has_time(cx->rt)) return crt__no_time(cx->rt, "a delay queue");
    crt__lock(&q->crt__lock);
    int e = !again && d->crt__slot.object ? CRT_EBUSY : again && d->crt__slot.object != q ? CRT_EINVAL : 0;
    if (!e && !q->crt__wheel) {
        q->crt__wheel = CRT_MALLOC(sizeof(crt__wheel));
        if (q->crt__wheel) {
            memset(q->crt__wheel, 0, sizeof(crt__wheel));
            q->crt__wheel->next = UINT64_MAX;
        } else {
            e = CRT_ENOMEM;
        }
    }
    if (!e) {
        if (again) crt__delay_unlink(q, &d->crt__slot);
        if (crt__delay_link(q, d, at, crt__rt_now(cx->rt))) crt__delay_wake(q, &ready);
    }
    crt__unlock(&q->crt__lock);
    crt__submit_list(&ready);
    return e;
}
CRTDEF int crt_delay_insert_at(crt_cx *cx, crt_delay_queue *q, crt_delay *d, crt_instant at)
{
    if (!q || !d) return CRT_EINVAL;
    return crt__delay_put(cx, q, d, at, false);
}
CRTDEF int crt_delay_insert(crt_cx *cx, crt_delay_queue *q, crt_delay *d, crt_duration after)
{
    if (!q || !d) return CRT_EINVAL;
    return crt__delay_put(cx, q, d, crt__instant_after(crt__rt_now(cx->rt), after), false);
}
CRTDEF int crt_delay_reset_at(crt_cx *cx, crt_delay_queue *q, crt_delay *d, crt_instant at)
{
    if (!q || !d) return CRT_EINVAL;
    return crt__delay_put(cx, q, d, at, true);
}
CRTDEF int crt_delay_reset(crt_cx *cx, crt_delay_queue *q, crt_delay *d, crt_duration after)
{
    if (!q || !d) return CRT_EINVAL;
    return crt__delay_put(cx, q, d, crt__instant_after(crt__rt_now(cx->rt), after), true);
}
CRTDEF bool crt_delay_remove(crt_delay_queue *q, crt_delay *d)
{
    crt__list ready = {NULL, NULL};
    crt__lock(&q->crt__lock);
    bool was = d->crt__slot.object == q;
    if (was) crt__delay_unlink(q, &d->crt__slot);
    if (!q->crt__len) crt__delay_wake(q, &ready);   // to be told that it is empty
    crt__unlock(&q->crt__lock);
    crt__submit_list(&ready);
    return was;
}
static void crt__op_delay_cancel(crt_slot *slot)
{
    crt_delay_queue *q = slot->object;
    crt_timer_stop(&q->crt__timer);   // ours as long as the place is
    crt__lock(&q->crt__lock);
    q->crt__waiter = NULL;
    crt__unlock(&q->crt__lock);
}
static const crt__op crt__op_delay = {"delay queue", crt__op_delay_cancel};

// What is due now: 0 and *d, CRT_EEMPTY, or CRT_PENDING and when to look again. Then the
// caller is registered.
static crt_poll crt__delay_take(crt_cx *cx, crt_delay_queue *q, crt_delay **d, crt_instant *again)
{
    crt__list none = {NULL, NULL};
    uint64_t now = crt__tick_floor(crt__rt_now(cx->rt));
    crt_poll r = 0;
    crt__lock(&q->crt__lock);
    if (q->crt__wheel && q->crt__wheel->next <= now) crt__wheel_advance(q->crt__wheel, now, &none);
    crt_slot *t = q->crt__due;
    if (CRT__UNLIKELY(q->crt__waiter && q->crt__waiter != cx->slot)) {
        r = CRT_EBUSY;   // it has one place, and one timer
    } else if (t) {
        crt__delay_unlink(q, t);
        *d = crt__container(t, crt_delay, crt__slot);
    } else if (!q->crt__len) {
        r = CRT_EEMPTY;
    } else {
        uint64_t next = q->crt__wheel->next;
        *again = next > (uint64_t)INT64_MAX / 1000000 ? CRT_FOREVER : (crt_instant)(next * 1000000);
        crt__slot_park(cx, cx->slot, &crt__op_delay, q);
        q->crt__waiter = cx->slot;
        r = CRT_PENDING;
    }
    crt__unlock(&q->crt__lock);
    return r;
}
CRTDEF crt_poll crt_delay_next(crt_cx *cx, crt_delay_queue *q, crt_delay **d)
{
    if (!q || !d) return crt__refuse(cx, CRT_EINVAL);
    crt_instant again = 0;
    crt_poll r;
    if (!crt__leaf(cx, &crt__op_delay, q)) return CRT_UNWIND;
    if (!crt__coop(cx)) return CRT_PENDING;
    for (;;) {   // until it is due, or the timer waits for long enough
        if ((r = crt__delay_take(cx, q, d, &again)) != CRT_PENDING) break;
        if (!q->crt__timer.set || q->crt__timer.deadline != again) crt_timer_reset_at(cx, &q->crt__timer, again);
        if ((r = crt_unconstrained(cx, crt_timer_wait(cx, &q->crt__timer))) != 0) break;
    }
    if (r == CRT_PENDING) crt__coop_return(cx);
    else crt__slot_cancel(cx->slot);   // the timer stops with it
    return r;
}
// The earliest in the wheel, or NULL. A slot above the lowest level is in no order; one of the top level may
// hold what is turns ahead, so that another may be earlier.
static crt_slot *crt__delay_earliest(const crt__wheel *w)
{
    uint32_t level, first, last;
    crt_slot *t = NULL;
    if (!w || crt__wheel_next(w, &level, &first) == UINT64_MAX) return NULL;
    last = first;
    if (level + 1 == CRT__WHEEL_LEVELS) first = 0, last = CRT__WHEEL_SLOTS - 1;
    for (uint32_t i = first; i <= last; i++)
        for (crt_slot *other = w->slots[level][i]; other; other = other->next)
            if (!t || other->value < t->value) t = other;
    return t;
}
CRTDEF crt_delay *crt_delay_peek(crt_delay_queue *q)
{
    crt__lock(&q->crt__lock);
    crt_slot *t = q->crt__due;
    if (!t) t = crt__delay_earliest(q->crt__wheel);
    if (!t) t = q->crt__never;
    crt__unlock(&q->crt__lock);
    return t ? crt__container(t, crt_delay, crt__slot) : NULL;
}
CRTDEF size_t crt_delay_len(crt_delay_queue *q)
{
    crt__lock(&q->crt__lock);
    size_t n = q->crt__len;
    crt__unlock(&q->crt__lock);
    return n;
}
// `wheel`, if any, takes the queue's: who is woken may look at it at once, on another worker.
static void crt__delay_empty(crt_delay_queue *q, crt__wheel **wheel)
{
    crt__list ready = {NULL, NULL};
    crt__lock(&q->crt__lock);
    while (q->crt__due) crt__delay_unlink(q, q->crt__due);
    while (q->crt__never) crt__delay_unlink(q, q->crt__never);
    for (uint32_t level = 0; q->crt__wheel && level < CRT__WHEEL_LEVELS; level++)
        for (uint32_t i = 0; i < CRT__WHEEL_SLOTS; i++)
            while (q->crt__wheel->slots[level][i]) crt__delay_unlink(q, q->crt__wheel->slots[level][i]);
    if (wheel) {
        *wheel = q->crt__wheel;
        q->crt__wheel = NULL;
    }
    crt__delay_wake(q, &ready);
    crt__unlock(&q->crt__lock);
    crt__submit_list(&ready);
}
CRTDEF void crt_delay_queue_clear(crt_delay_queue *q) { crt__delay_empty(q, NULL); }
CRTDEF void crt_delay_queue_drop(crt_delay_queue *q)
{
    crt__wheel *wheel = NULL;
    if (!q) return;
    crt__delay_empty(q, &wheel);
    if (wheel) CRT_FREE(wheel);
}

// ---------------------------------------------------------------------------
// >>reactor       the contract with the platform header
// ---------------------------------------------------------------------------
// A reactor reports readiness, edge-triggered: after an event for a descriptor,
// the next comes only when something new has happened. One thread at a time
// waits; all other calls may come from any thread at any time.

typedef intptr_t crt__fd;
enum {   // readiness; CLOSED bits stay until an operation meets EAGAIN all the same
    CRT__READABLE = 1,
    CRT__WRITABLE = 2,
    CRT__READ_CLOSED = 4,
    CRT__WRITE_CLOSED = 8,   // a hang-up; if the header defines CRT__HALVES_TOLD the end of this
                             // direction, also by a shutdown of this end
    CRT__IO_ERROR = 16,
    CRT__IO_SHUTDOWN = 32,   // the runtime is gone
    CRT__PRIORITY = 64,      // urgent data, or what POLLPRI means for the descriptor
    CRT__IO_SOFT = 256       // no descriptor: see crt__soft; not waited for
};
#if !defined(CRT__BARE) && (!defined(_WIN32) || !defined(CRT_NO_NET))
// Starts watching fd in both directions; events carry `token`. 0 or -errno.
static int crt__reactor_add(crt__reactor *r, crt__fd fd, uint64_t token);
// The same for CRT__PRIORITY, where that is not part of the above; such a header defines
// CRT__URGENT_UNTOLD if its events never bring a stream that bit unasked. 0 or -errno.
CRT__UNUSED static int crt__reactor_add_priority(crt__reactor *r, crt__fd fd, uint64_t token);
// Stops watching; called before fd is closed. An event that is under way may
// still arrive: tokens carry a generation for that.
CRT__UNUSED static void crt__reactor_remove(crt__reactor *r, crt__fd fd, uint64_t token);
#ifdef _WIN32
// A task is about to wait for one of `bits`: for a reactor that has to be asked each
// time. False: it cannot. Called also for records that have no descriptor.
CRT__UNUSED static bool crt__reactor_want(crt__reactor *r, uint64_t token, uint32_t bits);
#endif
#endif
// Waits for events, at most timeout_ns (< 0: for ever, 0: not at all), and calls
// crt__io_event for each. How many; interruptions count as 0 events.
static int crt__reactor_wait(crt__reactor *r, crt_runtime *rt, int64_t timeout_ns);
// Makes the waiting thread, or the next to wait, return at once.
static void crt__reactor_wake(crt__reactor *r);
static crt__fd crt__reactor_fd(crt__reactor *r);
static crt__reactor *crt__reactor_new(crt_runtime *rt, int max_events, int *error);
static void crt__reactor_free(crt_runtime *rt, crt__reactor *r);
#ifdef CRT__BARE   // nothing to watch: what comes from outside is an interrupt
static int crt__reactor_wait(crt__reactor *r, crt_runtime *rt, int64_t timeout_ns)
{
    (void)r, (void)rt, (void)timeout_ns;
    return 0;
}
static void crt__reactor_wake(crt__reactor *r) { (void)r; }
static crt__fd crt__reactor_fd(crt__reactor *r) { return (void)r, CRT_ENODRIVER; }
static crt__reactor *crt__reactor_new(crt_runtime *rt, int max_events, int *error)
{
    (void)rt, (void)max_events;
    *error = CRT_ENODRIVER;
    return NULL;
}
static void crt__reactor_free(crt_runtime *rt, crt__reactor *r) { (void)rt, (void)r; }
#endif

CRT__UNUSED static void crt__io_event(crt_runtime *rt, uint64_t token, uint32_t ready);
#ifndef CRT__BARE
static void crt__signal_wake(crt_runtime *rt);   // for CRT__SIGNAL_TOKEN
CRT__UNUSED static void crt__signal_set(int sig);   // it was raised; the platform then sees to the wake-up
#ifdef _WIN32
CRT__UNUSED static bool crt__signal_is_hooked(int sig);
#endif
#endif
// The event with this token comes next: its record is fetched meanwhile.
static inline void crt__io_expect(crt_runtime *rt, uint64_t token);
#ifndef CRT_NO_PROCESS
static void crt__process_sweep(void);
static void crt__process_end_all(crt_runtime *rt);
#else
#define crt__process_sweep() ((void)0)
#define crt__process_end_all(rt) ((void)(rt))
#endif
#if !defined(CRT_NO_PROCESS) && !defined(_WIN32)
static void crt__process_heard(void);
#else
#define crt__process_heard() ((void)0)
#endif
enum { CRT__SIGNAL_TOKEN = 0x7fffffff, CRT__TOKENS = 0x70000000 };   // from there on, others than records'

// A stream without a descriptor of its own is a record of >>io too, whose readiness is
// kept by whoever is at its other end (>>streams; the pipes of Windows). The operations
// of >>io meet the difference only where they would call the system; each of these gives
// bytes, CRT_EAGAIN or an error.
struct crt__sock;
struct crt_iovec;
typedef struct crt__soft_ops {
    crt_poll (*recv)(struct crt__sock *s, void *buf, size_t n, bool peek);   // 0 at the end
    crt_poll (*send)(struct crt__sock *s, const void *buf, size_t n);
    int (*shutdown)(struct crt__sock *s, int how);   // 0 or an error
    void (*close)(struct crt__sock *s);              // the last handle is gone
    // A short transfer means that the next would be told CRT_EAGAIN, and an error or
    // the end is told again when asked again: as many pieces at once as there are.
    bool pieces;
    // NULL, or several pieces in one go, not to be peeked at: the pipes of Windows.
    crt_poll (*several)(struct crt__sock *s, bool out, const struct crt_iovec *pieces, int count);
} crt__soft_ops;
typedef struct crt__soft {   // begins what such a stream is made of
    const crt__soft_ops *ops;
} crt__soft;
#ifndef CRT_NO_NET
static struct crt__sock *crt__soft_attach(crt_runtime *rt, crt__soft *soft, uint32_t ready);   // NULL: no memory
#ifdef _WIN32   // its platform header asks
CRT__UNUSED static crt__soft *crt__soft_of(struct crt__sock *s);
#endif
static uint64_t crt__sock_token(struct crt__sock *s);
static bool crt__sock_event(crt_runtime *rt, uint64_t token, uint32_t ready);
#endif

#if !defined(_WIN32) && !defined(CRT__BARE)
#define crt__os_unlink unlink
// A byte into a pipe that somebody waits for. Full: he is awake anyway.
CRT__UNUSED static void crt__pipe_wake(int fd)
{
    while (write(fd, "", 1) < 0 && errno == EINTR) {}
}
// Takes the bytes out again.
CRT__UNUSED static void crt__pipe_drain(int fd)
{
    char drain[64];
    ssize_t n;
    do n = read(fd, drain, sizeof drain);
    while (n > 0 || (n < 0 && errno == EINTR));
}
#endif

// Descriptors, in terms of errno: fd or -errno, always non-blocking and
// close-on-exec; recv and send give bytes, or -1 and errno, and never SIGPIPE.
#ifdef CRT__BARE
static void crt__fd_close(crt__fd fd) { (void)fd; }
#else
static void crt__fd_close(crt__fd fd);
CRT__UNUSED static bool crt__would_block(int e);
#endif
#if !defined(_WIN32) && !defined(CRT__BARE)
// Close-on-exec, and non-blocking if so wanted; both ends through crt__fd_own. 0 or -errno.
static int crt__pipe(int fd[2], bool nonblocking);
// Whether a write to a pipe without a reader raises SIGPIPE, where that is the
// descriptor's affair; elsewhere crt__fd_writev sees to it, and crt's threads block it.
CRT__UNUSED static void crt__fd_set_sigpipe(crt__fd fd, bool raise);
// Every descriptor that crt makes, for itself or to be handed out, stays clear of 0, 1 and 2:
// in a program that was started without one of those, crt_stdin, a line of the log or a printf
// would take it for that. What comes in place of fd, which may be below 0. Where there is no
// other number, fd is closed, a connection turned away: -1 and errno, as if there had been none
// at all. To be called before anything watches it. What the C library opens inside of a call
// (a lookup, fopen) is not seen to.
CRT__UNUSED static int crt__fd_own(int fd)
{
    if (fd < 0 || fd > 2) return fd;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    crt__fd_close(fd);
    return own;
}
// Both, or neither. 0 or -errno.
CRT__UNUSED static int crt__fd_own_two(int fd[2])
{
    fd[0] = crt__fd_own(fd[0]);
    fd[1] = crt__fd_own(fd[1]);
    if (fd[0] >= 0 && fd[1] >= 0) return 0;
    int e = -errno;
    for (int i = 0; i < 2; i++)
        if (fd[i] >= 0) crt__fd_close(fd[i]);
    return e;
}
#else
#define crt__fd_own(fd) (fd)   // no number there is a standard stream's
#endif
#ifndef CRT_NO_FS
// Moves bytes from one file to another inside the kernel, both at their positions: how
// many (at most some), 0 at the end, or -1 if it cannot.
static intptr_t crt__file_copy_some(int from, int to);
#endif

#if !defined(CRT_NO_PROCESS) && !defined(_WIN32)
// What stands for a child, to be watched and closed as a descriptor: it becomes readable
// when the child has ended. Close-on-exec; -errno.
static crt__fd crt__pidfd_open(int pid);
// In a child on its way to execve, where nothing but system calls may be made: marks all
// descriptors from `first` on close-on-exec; ids of this thread alone. -1 and errno.
static void crt__child_close_from(int first);
static int crt__child_set_gid(uint32_t gid);
static int crt__child_set_uid(uint32_t uid);
#endif

#ifndef CRT_NO_NET
#ifdef _WIN32
#include <afunix.h>
// What POSIX has and Windows has not, by other names: the same calls, results and errno.
typedef struct crt__iovec {
    void *iov_base;
    size_t iov_len;
} crt__iovec;
enum { CRT__SHUT_RD, CRT__SHUT_WR };
#else
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
typedef struct iovec crt__iovec;
#define CRT__SHUT_RD SHUT_RD
#define CRT__SHUT_WR SHUT_WR
#define crt__os_bind bind
#define crt__os_listen listen
#define crt__os_connect connect
#define crt__os_shutdown shutdown
#define crt__os_setsockopt setsockopt
#define crt__os_getsockopt getsockopt
#define crt__os_getsockname getsockname
#define crt__os_getpeername getpeername
#define crt__os_sendto sendto
#define crt__os_recvfrom recvfrom
#define crt__os_if_index if_nametoindex
#define crt__net_begin() 0   // what has to come before the first call that is not on a socket
#endif
#if defined(__APPLE__) || !defined(MSG_NOSIGNAL)
#define CRT__NOSIGNAL 0   // an option of the socket instead: crt__socket, crt__accept
#else
#define CRT__NOSIGNAL MSG_NOSIGNAL
#endif
static int crt__socket(int family, int type);
static int crt__socket_pair(int type, int fd[2]);   // of AF_UNIX. 0 or -errno
static int crt__accept(crt__fd fd, struct sockaddr *sa, socklen_t *n);
// A duplicate to be watched; may say -EPERM of a plain file, for which the reactor says
// so elsewhere.
static int crt__dup(crt__fd fd);
// Makes a foreign descriptor non-blocking (or blocking again) and close-on-exec. The
// flags it had, or -errno.
static int crt__fd_prepare(crt__fd fd);
static void crt__fd_restore(crt__fd fd, int flags);
static intptr_t crt__sock_recv(crt__fd fd, void *buf, size_t n);
static intptr_t crt__sock_send(crt__fd fd, const void *buf, size_t n);
static intptr_t crt__sock_peek(crt__fd fd, void *buf, size_t n);
static intptr_t crt__sock_sendv(crt__fd fd, const crt__iovec *pieces, int count);
// Of any descriptor; the second for those that are not sockets.
static intptr_t crt__fd_readv(crt__fd fd, const crt__iovec *pieces, int count);
static intptr_t crt__fd_writev(crt__fd fd, const crt__iovec *pieces, int count);
// A header that has its own crt__sock_listens defines CRT__LISTENERS_UNTOLD, and CRT__PAIRS_UNTOLD
// if this may fail for a pair, whose two ends are of this process.
static int crt__sock_peer_cred(crt__fd fd, crt_peer_cred *cred);
// Where IPv4 multicast leaves from; by index, 0: the system's choice. 0 or -errno.
static int crt__sock_multicast_interface(crt__fd fd, uint32_t ifindex);
// At most CRT__DATAGRAMS of them: how many, or -1 and errno; ENOSYS: it has no such call.
enum { CRT__DATAGRAMS = 64 };
static intptr_t crt__sock_recv_many(crt__fd fd, crt_udp_msg *msgs, size_t count);
static intptr_t crt__sock_send_many(crt__fd fd, crt_udp_msg *msgs, size_t count);
#ifndef _WIN32
static void crt__datagram_header(struct msghdr *h, struct iovec *piece, crt_udp_msg *m, bool out);
static void crt__datagram_done(const struct msghdr *h, crt_udp_msg *m, size_t len, bool out);
#endif
#endif

// Which header fulfils the contract. CRT_PLATFORM_KQUEUE: where something else than the
// system itself has kqueue (tests/kqueue_shim, on Linux).
#if defined(CRT_PLATFORM_KQUEUE) || defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__) || \
    defined(__NetBSD__)
#define CRT__SYSTEM_HEADER "crt_platform_kqueue.h"
#elif defined(__linux__)
#define CRT__SYSTEM_HEADER "crt_platform_epoll.h"
#elif defined(_WIN32)
#define CRT__SYSTEM_HEADER "crt_platform_iocp.h"
#endif
#if defined(CRT_PLATFORM_HEADER)
#include CRT_PLATFORM_HEADER
#elif defined(CRT__SYSTEM_HEADER)
#include CRT__SYSTEM_HEADER
#else
#error "no platform header for this system; define CRT_PLATFORM_HEADER \"mine.h\""
#endif

// ---------------------------------------------------------------------------
// >>scheduler     workers, parking, stealing, the drivers' turn
// ---------------------------------------------------------------------------
// A worker takes its next task from, in order: the queue of urgent tasks; the
// injection queue each inject_interval-th time, and the background's at most each 31st; the
// LIFO slot, three times in a row; its own queue, with pinned tasks by turns; the injection
// queue; the queues of others; those that have yielded, after a look at the drivers; the queue
// of background tasks. It looks at the drivers each event_interval tasks, too.
//
// Park word of a worker:  EMPTY -> PARKED (futex) | PARKED_DRIVER (in the reactor)
// by its owner; anyone -> NOTIFIED, waking it from where it was; owner -> EMPTY.
// A notification that comes first is kept, so none is lost.
//
// Sleep and wake (a Dekker pair, hence sequentially consistent): who makes work
// visible writes the queue, then reads the idle word; who goes to sleep writes
// the idle word, then reads the queues again. One of the two sees the other.
// Waking is sparse: only when no worker searches and one sleeps; the newest
// sleeper first. A woken worker searches; the last to stop searching because it
// found something wakes the next. At most half of the workers search.
//
// Driver: one worker at a time waits in the reactor, with a time-out for the
// earliest timer of all wheels; the others sleep on their park words. A worker
// that comes back with work wakes a sleeper before it runs anything, so that a
// long poll stalls neither I/O nor timers while another worker is idle. While
// others run, the one in the reactor also wakes now and then (1 to 10 ms) and
// takes over what sits in the LIFO slot of a worker that has not moved.

enum { CRT__EMPTY = 0, CRT__PARKED = 1, CRT__PARKED_DRIVER = 2, CRT__NOTIFIED_PARK = 3 };
enum { CRT__LIFO_POLLS = 3, CRT__BACKGROUND_INTERVAL = 31, CRT__BUDGET = 128 };

static void crt__sock_shutdown_all(crt_runtime *rt);

static bool crt__is_multi(const crt_runtime *rt) { return CRT__THREADS && rt->config.flavor == CRT_MULTI_THREAD; }

static uint64_t crt__random(uint64_t *state)
{
    uint64_t x = *state;   // xorshift64*
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545F4914F6CDD1DULL >> 16;
}
// 0 .. n-1
static uint32_t crt__random_below(uint64_t *state, uint32_t n)
{
    return (uint32_t)((crt__random(state) & 0xffffffff) * n >> 32);
}

// Makes whoever waits in the driver return.
static void crt__driver_kick(crt_runtime *rt)
{
    if (rt->reactor) {
        crt__reactor_wake(rt->reactor);
    } else {
        crt__atomic_store(&rt->no_io_futex, 1, CRT__SEQ_CST);
        crt__futex_wake(&rt->no_io_futex, 1);
    }
}
static void crt__unpark(crt__worker *w)
{
    uint32_t was = crt__atomic_xchg(&w->park, CRT__NOTIFIED_PARK, CRT__SEQ_CST);
    if (was == CRT__PARKED) crt__futex_wake(&w->park, 1);
    else if (was == CRT__PARKED_DRIVER) crt__driver_kick(w->rt);
}

// --- the idle set

static void crt__idle_init(crt_runtime *rt)
{
    rt->idle.word = rt->worker_count << 16;
    rt->idle.count = 0;
}
static bool crt__idle_worth_waking(crt_runtime *rt)
{
    uint32_t word = crt__atomic_load(&rt->idle.word, CRT__SEQ_CST);
    return (word & 0xffff) == 0 && word >> 16 < rt->worker_count;
}
// Wakes the newest sleeper as a searcher, if waking is worth while.
static void crt__notify_one(crt_runtime *rt)
{
    crt__atomic_fence(CRT__SEQ_CST);   // the queue was written before; see above
    if (!crt__idle_worth_waking(rt)) return;
    crt__worker *w = NULL;
    crt__lock(&rt->idle.lock);
    if (crt__idle_worth_waking(rt) && rt->idle.count) {
        w = &rt->workers[rt->idle.sleepers[rt->idle.count - 1]];
        crt__atomic_store(&rt->idle.count, rt->idle.count - 1, CRT__RELEASE);
        w->sleeping = false;
        crt__atomic_add(&rt->idle.word, 1 << 16 | 1, CRT__SEQ_CST);
    }
    crt__unlock(&rt->idle.lock);
    if (w) crt__unpark(w);
}
static void crt__idle_enter(crt__worker *w)
{
    crt_runtime *rt = w->rt;
    crt__lock(&rt->idle.lock);
    uint32_t less = 1 << 16 | (w->searching ? 1u : 0u);
    crt__atomic_sub(&rt->idle.word, less, CRT__SEQ_CST);
    rt->idle.sleepers[rt->idle.count] = w->index;
    crt__atomic_store(&rt->idle.count, rt->idle.count + 1, CRT__RELEASE);
    w->sleeping = true;
    w->searching = false;
    crt__unlock(&rt->idle.lock);
}
// Out of the set by itself (an event, a timer). False: somebody took it out.
static bool crt__idle_leave(crt__worker *w)
{
    crt_runtime *rt = w->rt;
    crt__idle *idle = &rt->idle;
    crt__lock(&idle->lock);
    bool was = w->sleeping;
    if (was) {
        uint32_t i = 0;
        while (idle->sleepers[i] != w->index) i++;
        for (; i + 1 < idle->count; i++) idle->sleepers[i] = idle->sleepers[i + 1];
        crt__atomic_store(&idle->count, idle->count - 1, CRT__RELEASE);
        w->sleeping = false;
        crt__atomic_add(&idle->word, 1 << 16, CRT__SEQ_CST);
    }
    crt__unlock(&idle->lock);
    return was;
}
static void crt__search_begin(crt__worker *w)
{
    if (w->searching) return;
    uint32_t word = crt__atomic_load(&w->rt->idle.word, CRT__SEQ_CST);
    if (2 * (word & 0xffff) >= w->rt->worker_count) return;
    crt__atomic_add(&w->rt->idle.word, 1, CRT__SEQ_CST);
    w->searching = true;
}
static bool crt__anything_to_do(crt__worker *w);
// The worker has found a task.
static void crt__search_end(crt__worker *w)
{
    if (!w->searching) return;
    w->searching = false;
    uint32_t old = crt__atomic_sub(&w->rt->idle.word, 1, CRT__SEQ_CST);
    if ((old & 0xffff) != 1 || (old >> 16) == w->rt->worker_count) return;
    // The last one that searched. Who made more work than we took has woken nobody, relying
    // on us; and if we came from the driver, one of those that sleep outside must take our place.
    if (!crt__atomic_load(&w->rt->driver_lock, CRT__RELAXED) || crt__anything_to_do(w)) crt__notify_one(w->rt);
}

// --- queues of a worker

// The shared queue that a task belongs in.
static crt__inject *crt__queue_for(crt_runtime *rt, const crt_task *t)
{
    if (CRT__LIKELY(!(t->flags & CRT__TASK_PRIORITY))) return &rt->inject;
    return t->flags & CRT__TASK_URGENT ? &rt->urgent : &rt->background;
}
static size_t crt__injected(crt_runtime *rt)
{
    return crt__inject_length(&rt->inject) + crt__inject_length(&rt->urgent) + crt__inject_length(&rt->background);
}
// To the back of the worker's own queue, or of the queue for its priority.
static void crt__push_back(crt__worker *w, crt_task *t)
{
    if (CRT__UNLIKELY(t->flags & CRT__TASK_PRIORITY)) {
        crt__inject_push(crt__queue_for(w->rt, t), t, t, 1);
        return;
    }
    if (!w->ring || (t->flags & CRT__TASK_PINNED)) {
        crt__list_push(&w->fifo, t);
        return;
    }
    if (!crt__ring_push(w->ring, &w->rt->inject, t)) crt__count(&w->overflows, 1);
}
static void crt__end_queued(crt_runtime *rt);
static void crt__submit_remote(crt_runtime *rt, crt_task *t)
{
    // Once the task is in the queue it may run, end, and the runtime with it.
    crt__atomic_add(&rt->refs, 1, CRT__RELAXED);
    crt__atomic_add(&rt->remote_schedules, 1, CRT__RELAXED);
    crt__inject_push(crt__queue_for(rt, t), t, t, 1);
    if (crt__is_multi(rt)) crt__notify_one(rt);
    else crt__unpark(&rt->workers[0]);   // an exchange: it orders itself
    if (CRT__UNLIKELY(crt__atomic_load(&rt->ended, CRT__SEQ_CST))) crt__end_queued(rt);
    crt__rt_unref(rt);
}
static void crt__submit_pinned(crt_task *t)
{
    crt_runtime *rt = t->home->rt;
    crt__worker *owner = &rt->workers[t->flags >> CRT__TASK_WORKER_SHIFT];
    if (crt__tls.worker == owner) {
        crt__list_push(&owner->fifo, t);
        return;
    }
    crt__atomic_add(&rt->refs, 1, CRT__RELAXED);   // as above
    crt__inject_push(owner->inbox, t, t, 1);
    crt__unpark(owner);   // an exchange: it orders itself
    if (CRT__UNLIKELY(crt__atomic_load(&rt->ended, CRT__SEQ_CST))) crt__end_queued(rt);
    crt__rt_unref(rt);
}
// Somebody waits in the driver for as long as it takes, and now there is a task in
// a LIFO slot: let it wait watchfully. Happens once in each busy period. It says
// that it sleeps, then reads the idle word; a worker that it does not find awake there enters
// itself after that, and sees it when it fills its slot.
static CRT__COLD void crt__monitor_wake(crt_runtime *rt)
{
    if (crt__atomic_xchg(&rt->monitor_asleep, 0, CRT__SEQ_CST)) crt__driver_kick(rt);
}
// Notes when a task was woken, where that is measured, and queues what does not go where
// others go. False: this one does.
static CRT__OUTLINE bool crt__submit_special(crt_task *t)
{
    if (t->flags & CRT__TASK_TIMED) crt__record_of(t)->ready = crt__clock();
    if (t->flags & CRT__TASK_THREAD) crt__thread_task_wake(t);   // which has no runtime
    else if ((t->flags & CRT__TASK_PINNED) && crt__is_multi(t->home->rt)) crt__submit_pinned(t);
    else if (t->flags & CRT__TASK_PRIORITY) crt__submit_remote(t->home->rt, t);
    else return false;
    return true;
}
// On its own worker a task woken by the running one goes to the LIFO slot, where it
// finds the caches warm; the one it displaces goes to the back and may be stolen.
static CRT__OUTLINE void crt__submit_to_ring(crt_runtime *rt, crt__worker *w, crt_task *t)
{
    if (!w->lifo_off && crt__tls.in_task) {
        // Into an empty slot by a store: nobody else fills it.
        crt_task *before = crt__atomic_load(&w->lifo, CRT__RELAXED);
        if (before) before = crt__atomic_xchg(&w->lifo, t, CRT__ACQ_REL);
        else crt__atomic_store(&w->lifo, t, CRT__RELEASE);
        if (CRT__UNLIKELY(crt__atomic_load(&rt->monitor_asleep, CRT__SEQ_CST))) crt__monitor_wake(rt);
        if (!(t = before)) return;
    }
    if (!crt__ring_push(w->ring, &rt->inject, t)) crt__count(&w->overflows, 1);
    if (crt__tls.in_task && rt->worker_count > 1) crt__notify_one(rt);   // the drivers' turn tells once, at its end
}
// Queues a task that was woken.
static void crt__submit(crt_task *t)
{
    if (CRT__UNLIKELY(t->flags & (CRT__TASK_THREAD | CRT__TASK_PINNED | CRT__TASK_PRIORITY | CRT__TASK_TIMED))) {
        if (crt__submit_special(t)) return;
    }
    crt_runtime *rt = t->home->rt;
    crt__worker *w = crt__tls.worker;
    if (CRT__UNLIKELY(!w || w->rt != rt)) {
        crt__submit_remote(rt, t);
        return;
    }
    crt__count(&w->local_schedules, 1);
    if (!w->ring) crt__list_push(&w->fifo, t);
    else crt__submit_to_ring(rt, w, t);
}

static crt_task *crt__take_pinned(crt__worker *w)
{
    crt_task *t;
    if (CRT__UNLIKELY(w->inbox != NULL))
        while ((t = crt__inject_pop(w->inbox))) crt__list_push(&w->fifo, t);
    return crt__list_pop(&w->fifo);
}
// A share of the injection queue: the first to run, the rest into the ring.
static CRT__OUTLINE crt_task *crt__take_share(crt__worker *w, size_t length, bool one)
{
    crt_runtime *rt = w->rt;
    if (!crt__try_lock(&rt->inject.lock)) return NULL;
    crt_task *first = crt__inject_take(&rt->inject);
    if (first && w->ring && !one) {
        size_t share = length / rt->worker_count + 1;
        size_t room = CRT__RING / 2 - crt__min(CRT__RING / 2, crt__ring_length(w->ring));
        share = crt__min(share, room);
        while (share-- > 1) {
            crt_task *t = crt__inject_take(&rt->inject);
            if (!t) break;
            crt__ring_push(w->ring, &rt->inject, t);
        }
    }
    crt__unlock(&rt->inject.lock);
    return first;
}
static inline crt_task *crt__take_injected(crt__worker *w, bool one)
{
    size_t length = crt__atomic_load(&w->rt->inject.length, CRT__ACQUIRE);
    return CRT__LIKELY(!length) ? NULL : crt__take_share(w, length, one);
}
static crt_task *crt__take_lifo(crt__worker *w)
{
    if (!crt__atomic_load(&w->lifo, CRT__RELAXED)) return NULL;
    crt_task *t = crt__atomic_xchg(&w->lifo, NULL, CRT__ACQ_REL);
    if (t && (w->lifo_polls >= CRT__LIFO_POLLS || w->cx->budget == 0)) {
        crt__push_back(w, t);   // enough in a row: the others get their turn
        w->lifo_polls = 0;
        return NULL;
    }
    if (t) w->lifo_polls++;
    return t;
}
// What comes before a worker's own queue: urgent tasks always, the injection queue now and
// then, and, less often than that queue, one of the background.
static CRT__OUTLINE crt_task *crt__next_shared(crt__worker *w)
{
    crt_task *t = crt__inject_pop(&w->rt->urgent);
    if (t || w->until_inject) return t;
    w->until_inject = w->inject_interval;
    uint32_t polls = crt__polls_of(w);
    if (polls - w->background_at >= CRT__BACKGROUND_INTERVAL && (t = crt__inject_pop(&w->rt->background))) {
        w->background_at = polls;
        w->until_inject = 1;   // the injection queue has not had its turn
        return t;
    }
    return crt__take_injected(w, true);
}
static crt_task *crt__next_from_ring(crt__worker *w, bool *from_lifo)
{
    crt_task *t = crt__take_lifo(w);
    if (t) {
        *from_lifo = true;
        return t;
    }
    bool pinned_first = w->pinned_next = !w->pinned_next;   // neither kind starves the other
    if (pinned_first) t = crt__take_pinned(w);
    if (!t) t = crt__ring_pop(w->ring);
    if (!t && !pinned_first) t = crt__take_pinned(w);
    if (!t) t = crt__take_injected(w, false);
    w->lifo_polls = 0;
    return t;
}
// Another task's turn begins: who comes first in it, or NULL.
static inline crt_task *crt__next_first(crt__worker *w)
{
    if (w->until_inject) w->until_inject--;
    bool look = !w->until_inject || crt__inject_length(&w->rt->urgent);
    return CRT__UNLIKELY(look) ? crt__next_shared(w) : NULL;
}
// And then, on a current thread.
static inline crt_task *crt__next_here(crt__worker *w)
{
    if (CRT__UNLIKELY(!w->fifo.head)) return crt__take_injected(w, false);
    crt_task *t = crt__list_pop(&w->fifo);
    // Whom its end would wake, if a task waits for it; and whose turn is next.
    uintptr_t joiner = crt__atomic_load(&t->join, CRT__RELAXED) & ~(uintptr_t)7;
    if (joiner) CRT__PREFETCH((const void *)joiner);
    crt__task_prefetch(w->fifo.head);
    return t;
}
static crt_task *crt__next_task(crt__worker *w, bool *from_lifo)
{
    crt_task *t = crt__next_first(w);
    *from_lifo = false;
    if (t) return t;   // the LIFO polls before and after it are in a row, for those behind them
    return w->ring ? crt__next_from_ring(w, from_lifo) : crt__next_here(w);
}
static bool crt__has_local(crt__worker *w)
{
    return (w->ring && (crt__atomic_load(&w->lifo, CRT__RELAXED) || crt__ring_length(w->ring))) ||
           w->fifo.head || (w->inbox && crt__inject_length(w->inbox));
}

// --- running a task

static void crt__locals_end(crt_task *t);

// Completes a task that this thread runs, or has adopted.
static void crt__end_task(crt_task *t, crt_poll r)
{
    if (CRT__UNLIKELY(t->u.slot.op || t->groups)) crt__task_unlink(t);
    if (CRT__UNLIKELY(t->ext != NULL)) crt__locals_end(t);
    if (CRT__UNLIKELY(t->flags & CRT__TASK_PINNED))
        crt__atomic_sub(&t->home->rt->workers[t->flags >> CRT__TASK_WORKER_SHIFT].pinned_live, 1, CRT__RELEASE);
    crt__task_complete(t, r, 0);
}
static CRT__COLD void crt__wake_all(crt_runtime *rt)
{
    for (uint32_t i = 0; i < rt->worker_count; i++) crt__unpark(&rt->workers[i]);
}
// A task has ended outside a worker; perhaps it was the last that they wait for.
static CRT__COLD void crt__count_remote_end(crt_runtime *rt)
{
    crt__atomic_add(&rt->remote_completed, 1, CRT__SEQ_CST);
    if (crt__atomic_load(&rt->closing, CRT__SEQ_CST)) crt__wake_all(rt);
}
// Ends a task that the end of a shutdown has passed by, and that is marked CRT__TASK_LATE. crt_block_on
// takes its frame back with its task, and what others wait in may lie there: those end first.
static CRT__COLD void crt__end_late(crt_runtime *rt, crt_task *t, crt_poll r)
{
    if (t->flags & CRT__TASK_EXTERNAL)
        while (crt__atomic_load(&rt->unfinished, CRT__ACQUIRE)) crt__futex_wait(&rt->unfinished, 1, -1);
    crt_runtime *outer = crt__tls.rt;
    crt__tls.rt = rt;   // as in crt__finish_shutdown
    crt__end_task(t, r);
    crt__tls.rt = outer;
}
// A task that nobody polls, claimed after the leftovers were adopted.
static CRT__COLD void crt__end_missed(crt_runtime *rt, crt_task *t)
{
    crt__lock(&rt->walk_lock);
    crt__atomic_or(&t->state, CRT__ACTIVE | CRT__OFF, CRT__ACQ_REL);
    t->flags |= CRT__TASK_LATE;
    crt__unlock(&rt->walk_lock);
    crt__end_late(rt, t, CRT_UNWIND);
    crt__count_remote_end(rt);
}
// The end of a poll that gave its worker away (crt_block_in_place). Workers may
// have been waiting, or have been stopped, meanwhile: then the task ends here.
static CRT__COLD void crt__end_off_worker(crt_runtime *rt, crt_cx *cx, crt_task *t, crt_poll r)
{
    // Under the lock that the end of a shutdown takes to adopt what is left: either it
    // sees the task as any other, or we see that it has passed.
    crt__lock(&rt->walk_lock);
    bool ended = rt->ended != 0, parks = r == CRT_PENDING && !cx->unwind;
    bool in_scope = (t->flags & CRT__TASK_IN_SCOPE) != 0;   // looked at now: ended, the task may go
    uint32_t state = 0;
    if (ended) {
        t->flags |= CRT__TASK_LATE;
    } else if (parks) {
        crt__atomic_store(&t->site, cx->site, CRT__RELAXED);
        if (cx->deferred) crt__task_notify(t);
        state = crt__atomic_and(&t->state, ~(uint32_t)(CRT__ACTIVE | CRT__OFF), CRT__ACQ_REL);
    } else if (in_scope) {   // its opener stays until it has ended: the leftovers wait
        crt__atomic_add(&rt->ending, 1, CRT__RELAXED);
    }
    crt__unlock(&rt->walk_lock);
    if (parks && !ended) {
        crt__tls.in_task = 0;
        if (state & CRT__NOTIFIED) crt__submit(t);
        return;
    }
    if (r == CRT_PENDING) r = CRT_UNWIND;
    if (ended) crt__end_late(rt, t, r);
    else crt__end_task(t, r);
    crt__tls.in_task = 0;   // what is dropped at the end may not wait, no more than on a worker
    // Release: whoever adopts the opener sees the scope without this task.
    if (!ended && in_scope && crt__atomic_sub(&rt->ending, 1, CRT__RELEASE) == 1) crt__futex_wake(&rt->ending, 1);
    crt__count_remote_end(rt);
}

static crt__scale crt__scale_of(const crt_config *c, int which)
{
    if (which == CRT__POLL_TIMES)
        return (crt__scale){c->poll_histogram, c->poll_histogram_buckets, c->poll_histogram_resolution};
    return (crt__scale){c->schedule_histogram, c->schedule_histogram_buckets, c->schedule_histogram_resolution};
}
// Which bucket: what takes a whole resolution is in the second.
static uint32_t crt__bucket_of(crt__scale s, uint64_t ns)
{
    uint64_t n = ns / (uint64_t)s.resolution, last = (uint64_t)s.buckets - 1;
    uint64_t i = n;
    if (s.kind == CRT_HISTOGRAM_LOG)
        for (i = 0; n && i < last; i++) n /= 2;
    return (uint32_t)crt__min(i, last);
}
static void crt__tally_add(crt__worker *w, int which, crt_duration took)
{
    crt__tally *tally = &w->tally[which];
    if (!tally->buckets) return;
    crt__count(&tally->buckets[crt__bucket_of(crt__scale_of(&w->rt->config, which), (uint64_t)took)], 1);
    crt__count(&tally->ns, (uint64_t)took);
}

// Who looks on at polls: hooks, histograms, the trace.
static CRT__COLD void crt__poll_begins(crt_cx *cx, crt_task *t)
{
    crt_runtime *rt = cx->rt;
    crt_duration waited = -1;
    cx->poll_began = crt__clock();
    if (t->flags & CRT__TASK_TIMED) {
        waited = crt__max(cx->poll_began - crt__record_of(t)->ready, 0);
        crt__tally_add(crt__tls.worker, CRT__SCHEDULE_TIMES, waited);
        crt__trace_begin(t, waited);
    }
    if (!rt->config.on_before_poll) return;
    crt__hook(t, rt->config.on_before_poll, rt->config.schedule_histogram ? waited : -1);
    cx->poll_began = crt__clock();   // the hook is no part of it
}
static CRT__COLD void crt__poll_ended(crt_cx *cx, crt_task *t)
{
    crt_runtime *rt = cx->rt;
    int64_t now = crt__clock();
    crt_duration took = crt__max(now - cx->poll_began, 0);
    crt__worker *w = crt__tls.worker;   // the one that began it may belong to another thread by now
    crt__trace_end(t, took);
    if (w) crt__tally_add(w, CRT__POLL_TIMES, took);
    // If it yielded, or was woken meanwhile, it could run from now on.
    if (t->flags & CRT__TASK_TIMED) crt__record_of(t)->ready = now;
    if (rt->config.on_after_poll) crt__hook(t, rt->config.on_after_poll, -1);
}

#ifdef CRT_DEBUG
// A task is about to wait. If no leaf is parked in it and nobody has a reference but the
// runtime and the joiner, there is no waker, and there will be none.
static void crt__check_waits(crt_task *t)
{
    uint32_t s = crt__atomic_load(&t->state, CRT__RELAXED);
    if (t->u.slot.op || t->groups || s & CRT__NOTIFIED || s / CRT__REF > 1u + ((s & CRT__JOIN) != 0)) return;
    crt__say(t->home->rt, CRT_LOG_WARN,
             "task " CRT__ID " returned CRT_PENDING, and nothing can wake it: a poll written by hand keeps a waker "
             "(crt_waker_clone) with what it waits for",
             (crt__id)t->id);
}
#else
#define crt__check_waits(t) ((void)0)
#endif

// The worker's own queue has got a task that comes after the one in its LIFO slot: if that is polled for
// long, the other is stuck, unless somebody who sleeps comes for it.
static void crt__offer(crt__worker *w)
{
    if (w->ring && w->rt->worker_count > 1 && crt__atomic_load(&w->lifo, CRT__RELAXED)) crt__notify_one(w->rt);
}
// One poll. Afterwards this thread may act for another worker, or none
// (crt_block_in_place): only crt__tls.worker is to be trusted.
static void crt__run_task(crt__worker *w, crt_cx *cx, crt_task *t)
{
    crt_runtime *rt = w->rt;
    uint32_t s = crt__task_begin(t);
    cx->task = t;
    cx->slot = &t->u.slot;
    cx->site = NULL;
    cx->deferred = 0;
    cx->unwind = 0;
    if (CRT__UNLIKELY((s & (CRT__CANCELLED | CRT__UNWOUND)) == CRT__CANCELLED)) {
        crt__atomic_or(&t->state, CRT__UNWOUND, CRT__ACQ_REL);
        cx->unwind = 1;
    }
    crt__atomic_store(&w->running, t, CRT__RELAXED);
    crt__tls.in_task = 1;   // in the hook, too
    if (CRT__UNLIKELY(rt->watches_polls)) crt__poll_begins(cx, t);
    crt__count(&w->polls, 1);
    w->batch_polls++;
    crt_poll r = t->fn(crt__task_frame(t), cx);
    if (CRT__UNLIKELY(rt->watches_polls)) crt__poll_ended(cx, t);
    w = crt__tls.worker;
    if (CRT__LIKELY(w != NULL)) {
        crt__atomic_store(&w->running, NULL, CRT__RELAXED);
        if (CRT__UNLIKELY(w->wheel.fresh != NULL)) crt__timers_settle(w);
    }
    if (CRT__UNLIKELY(!w)) {
        crt__end_off_worker(rt, cx, t, r);
        return;
    }
    if (CRT__LIKELY(r == CRT_PENDING) && CRT__LIKELY(!cx->unwind)) {
        crt__atomic_store(&t->site, cx->site, CRT__RELAXED);
        crt__tls.in_task = 0;
        if (cx->deferred) {
            if (cx->deferred == 2) crt__count(&w->forced_yields, 1);
            crt__list_push(&w->deferred, t);   // still ACTIVE
            return;
        }
        crt__check_waits(t);
        s = crt__atomic_sub(&t->state, CRT__ACTIVE, CRT__ACQ_REL);
        if (s & CRT__NOTIFIED) {   // woken while it ran: to the back
            if (t->flags & CRT__TASK_PINNED) {
                crt__submit(t);
            } else {
                crt__push_back(w, t);
                crt__offer(w);
            }
        }
        return;
    }
    if (r == CRT_PENDING) r = CRT_UNWIND;   // a hand-written body that did not look
    crt__end_task(t, r);   // the joiner may go to the LIFO slot
    crt__tls.in_task = 0;
    crt__atomic_store(&w->completed, w->completed + 1, CRT__RELEASE);
}

// --- the drivers' turn

// Held over the wait, and never by a handler. On a current thread only whoever has the turn to
// drive (rt->driving) comes here, and it is never inside already: there is nothing to lock.
static bool crt__driver_enter(crt_runtime *rt) { return !crt__is_multi(rt) || crt__try_lock(&rt->driver_lock); }
static void crt__driver_leave(crt_runtime *rt)
{
    if (crt__is_multi(rt)) crt__unlock(&rt->driver_lock);
}

static bool crt__driver_watches(crt_runtime *rt)
{
    return crt__atomic_load(&rt->fd_registered, CRT__RELAXED) !=
           crt__atomic_load(&rt->fd_deregistered, CRT__RELAXED);
}
// Waits for events at most timeout_ns, then for timers; inside the driver.
static int crt__driver_turn(crt_runtime *rt, int64_t timeout_ns)
{
    int n = 0;
    if (rt->reactor) {
        // Looking without waiting is free while no descriptor is watched.
        if (timeout_ns != 0 || crt__driver_watches(rt)) n = crt__reactor_wait(rt->reactor, rt, timeout_ns);
    } else if (timeout_ns != 0) {
        crt__futex_wait(&rt->no_io_futex, 0, timeout_ns);
        crt__atomic_store(&rt->no_io_futex, 0, CRT__SEQ_CST);
    }
    n += (int)crt__wheels_serve_all(rt);
    return n;
}
static void crt__release_deferred(crt__worker *w)
{
    crt__list l = w->deferred;
    w->deferred.head = w->deferred.tail = NULL;
    for (crt_task *t; (t = crt__list_pop(&l));) crt__push_back(w, t);
}
// A look at the drivers without waiting, then the tasks that yielded.
static int crt__drivers_poll(crt__worker *w)
{
    crt_runtime *rt = w->rt;
    int n = 0;
    // Nothing can be found there without a descriptor and a timer: leave its lock alone.
    bool empty = !crt__driver_watches(rt) && !crt__wheels_any(rt);
    bool entered = !empty && crt__driver_enter(rt);
    if (entered) {
        n = crt__driver_turn(rt, 0);
        crt__driver_leave(rt);
    } else if (crt__atomic_load(&w->wheel.next, CRT__RELAXED) != UINT64_MAX) {
        n = (int)crt__wheel_serve(rt, &w->wheel, crt__rt_now(rt));
    }
    bool several = w->deferred.head &&
                   (w->deferred.head != w->deferred.tail || crt__atomic_load(&w->lifo, CRT__RELAXED));
    crt__release_deferred(w);
    // If we got in, nobody waits there. A worker that wanted to, while we were in,
    // has gone to sleep outside; before the next long poll it must take our place.
    if (w->ring && rt->worker_count > 1 && (n || entered || several)) crt__notify_one(rt);
    return n;
}

// How long to wait in the driver: to the next timer, or less.
static int64_t crt__driver_timeout(crt_runtime *rt, crt_instant next, int64_t most)
{
    if (next == CRT_FOREVER) return most;
    if (CRT__UNLIKELY(crt__atomic_load(&rt->clock_paused, CRT__ACQUIRE))) {
        crt__atomic_fence(CRT__SEQ_CST);   // `next`, then the clock; crt__clock_moved has the other half
        return next <= crt__rt_now(rt) ? 0 : most;   // due already: advanced between its poll and the wheel
    }
    int64_t left = next - crt__rt_now(rt);
    if (left < 0) left = 0;
    return most < 0 || left < most ? left : most;
}
// Waits in the driver until notified, an event, a timer, or `most` ns (< 0: any
// time). driver_until is announced before the wheels are read again, with a fence between
// (there is one in crt__timers_announce), so that a timer inserted meanwhile is seen by us
// or its inserter sees us.
static int crt__driver_wait(crt__worker *w, int64_t most)
{
    crt_runtime *rt = w->rt;
    uint32_t empty = CRT__EMPTY;
    int n = 0;
    if (!crt__atomic_cas(&w->park, &empty, CRT__PARKED_DRIVER, CRT__SEQ_CST, CRT__SEQ_CST)) {
        crt__atomic_xchg(&w->park, CRT__EMPTY, CRT__SEQ_CST);
        return crt__driver_turn(rt, 0);
    }
    crt_instant next = crt__wheels_next(rt), again;
    // The current thread's wheel is set by this thread alone: nobody asks when it will wake.
    for (; crt__is_multi(rt); next = again) {
        crt__atomic_store(&rt->driver_until, next, CRT__RELAXED);   // the fence is what orders them
        crt__atomic_store(&rt->driver_parked, 1, CRT__RELAXED);
        crt__atomic_fence(CRT__SEQ_CST);
        again = crt__wheels_next(rt);
        if (again >= next) break;
    }
    n = crt__driver_turn(rt, crt__driver_timeout(rt, next, most));
    crt__atomic_store(&rt->driver_parked, 0, CRT__RELAXED);   // who sees it late kicks for nothing
    crt__atomic_xchg(&w->park, CRT__EMPTY, CRT__SEQ_CST);
    return n;
}
// After a poll that inserted the earliest timer of its wheel, or found it overdue: does
// somebody sleep in the driver for longer than that?
static void crt__timers_announce(crt__worker *w)
{
    crt_runtime *rt = w->rt;
    crt__atomic_fence(CRT__SEQ_CST);
    if (!crt__atomic_load(&rt->driver_parked, CRT__SEQ_CST)) return;
    uint64_t next = crt__atomic_load(&w->wheel.next, CRT__SEQ_CST);
    if (next > (uint64_t)INT64_MAX / 1000000) return;
    crt_instant until = crt__atomic_load(&rt->driver_until, CRT__SEQ_CST);
    bool longer = (crt_instant)(next * 1000000) < until;
    if (longer || crt__rt_now(rt) - until > CRT_MS(CRT__OVERSLEPT)) crt__driver_kick(rt);
}

// --- to spin or to sleep

// Whoever has slept for less than two wake-ups take would better have spun: then it
// does so the next time, for `most` rounds of a look and a pause; else by half as much.
static void crt__spin_learn(uint32_t *spin, uint32_t most, int64_t slept)
{
    uint32_t now = crt__atomic_load(spin, CRT__RELAXED), next = slept < CRT_US(100) ? most : now / 2;
    if (next != now) crt__atomic_store(spin, next, CRT__RELAXED);
}
// Before a worker sleeps while blocking jobs run. True: there may be work.
static bool crt__spin_for_jobs(crt__worker *w)
{
    crt_runtime *rt = w->rt;
    for (uint32_t i = crt__atomic_load(&w->spin, CRT__RELAXED); i > 0; i--) {
        bool more = crt__atomic_load(&rt->pool.outstanding, CRT__ACQUIRE) != 0;
        if (crt__is_multi(rt) ? crt__anything_to_do(w) : crt__injected(rt) != 0) return true;
        if (!more) return false;
        crt__cpu_relax();
    }
    return false;
}

// --- bookkeeping between batches

// Poll times smoothed as Tokio does (alpha 0.1 a poll); the injection queue is
// looked at about every 200 us of work, each 2nd to 127th task.
static void crt__batch_end(crt__worker *w)
{
    if (!w->batch_polls) return;
    int64_t now = crt__clock(), took = now - w->batch_start;
    crt__count(&w->busy_ns, (uint64_t)crt__max(took, 0));
    if (crt__is_multi(w->rt) && !w->rt->config.global_queue_interval) {
        double mean = (double)took / w->batch_polls, weight = 1;
        for (uint32_t i = crt__min(w->batch_polls, 64); i > 0; i--) weight *= 0.9;
        w->mean_poll = weight * w->mean_poll + (1 - weight) * mean;
        double every = w->mean_poll > 1 ? 200000 / w->mean_poll : 127;
        uint32_t n = every < 2 ? 2 : every > 127 ? 127 : (uint32_t)every;
        if (n > w->inject_interval + 2 || n + 2 < w->inject_interval) w->inject_interval = n;
        w->until_inject = crt__min(w->until_inject, w->inject_interval);
    }
    w->batch_start = now;
    w->batch_polls = 0;
}

// The LIFO slot of a worker that polls the same task as at the last look. Looks are
// `apart` ns or more apart, whoever takes them: the monitor, or a worker in passing.
static crt_task *crt__rescue_lifo(crt__worker *w, int64_t now, int64_t apart)
{
    crt_runtime *rt = w->rt;
    int64_t last = crt__atomic_load(&rt->monitor_last, CRT__RELAXED);
    if (now - last < apart) return NULL;
    if (!crt__atomic_cas(&rt->monitor_last, &last, now, CRT__ACQ_REL, CRT__RELAXED)) return NULL;
    for (uint32_t i = 0; i < rt->worker_count; i++) {
        crt__worker *victim = &rt->workers[i];
        if (victim == w) continue;
        uint32_t polls = crt__polls_of(victim);
        bool stuck = polls == crt__atomic_load(&victim->monitor_polls, CRT__RELAXED);
        crt__atomic_store(&victim->monitor_polls, polls, CRT__RELAXED);
        if (!stuck || !crt__atomic_load(&victim->lifo, CRT__RELAXED)) continue;
        crt_task *t = crt__atomic_xchg(&victim->lifo, NULL, CRT__ACQ_REL);
        if (t) return t;
    }
    return NULL;
}

static bool crt__stopping(crt_runtime *rt) { return crt__atomic_load(&rt->stop, CRT__SEQ_CST) != 0; }

static void crt__abort_all(crt_runtime *rt);
static uint64_t crt__alive(crt_runtime *rt);

// --- multi-thread: search, park, loop

static crt_task *crt__steal(crt__worker *w)
{
    crt_runtime *rt = w->rt;
    uint32_t n = rt->worker_count, start = crt__random_below(&w->rng, n), got;
    if (n > 1) crt__search_begin(w);
    if (n > 1 && !w->searching) return NULL;
    for (uint32_t i = 0; i < n && n > 1; i++) {
        crt__worker *victim = &rt->workers[(start + i) % n];
        if (victim == w) continue;
        crt_task *t = crt__ring_steal(victim->ring, w->ring, &got);
        if (t) {
            crt__count(&w->steals, got);
            crt__count(&w->steal_ops, 1);
            return t;
        }
    }
    return crt__take_injected(w, false);
}
// Work that this worker could get at, looked for after it has announced its sleep.
static bool crt__anything_to_do(crt__worker *w)
{
    crt_runtime *rt = w->rt;
    if (crt__injected(rt)) return true;
    if (w->inbox && crt__inject_length(w->inbox)) return true;
    for (uint32_t i = 0; i < rt->worker_count; i++)
        if (crt__ring_length(rt->workers[i].ring)) return true;
    return crt__atomic_load(&rt->closing, CRT__SEQ_CST) && crt__alive(rt) == 0;
}
// The end of a search that found nothing, of a worker that stays awake: who made work
// meanwhile has woken nobody, relying on us.
static void crt__search_give_up(crt__worker *w)
{
    if (!w->searching) return;
    w->searching = false;
    crt__atomic_sub(&w->rt->idle.word, 1, CRT__SEQ_CST);
    if (crt__anything_to_do(w)) crt__notify_one(w->rt);
}
// What a worker that has work does now and then.
static void crt__in_passing(crt__worker *w)
{
    crt__batch_end(w);
    crt__drivers_poll(w);
    crt_task *t = w->rt->worker_count > 1 ? crt__rescue_lifo(w, w->batch_start, 5000000) : NULL;
    if (t) crt__push_back(w, t);
}
// Tells that a thread goes to sleep or wakes. It has tasks to run: what would block it is refused.
static void crt__park_hook(crt_runtime *rt, void (*hook)(void *hook_data))
{
    if (CRT__LIKELY(!hook)) return;
    uint32_t outer = crt__tls.in_task;
    crt__tls.in_task = 1;
    hook(rt->config.hook_data);
    crt__tls.in_task = outer;
}
// Sleeps until there may be something to do.
static void crt__worker_park(crt__worker *w)
{
    crt_runtime *rt = w->rt;
    int64_t watch = 1000000;
    if (w->deferred.head) {   // yielded tasks only: look at the drivers and go on
        crt__search_give_up(w);
        crt__in_passing(w);
        return;
    }
    crt__batch_end(w);
    int64_t jobs_since = 0;
    if (CRT__UNLIKELY(crt__atomic_load(&rt->pool.outstanding, CRT__RELAXED) != 0)) {
        if ((w->searching || rt->worker_count == 1) && crt__spin_for_jobs(w)) return;
        jobs_since = crt__clock();
    }
    crt__park_hook(rt, rt->config.on_thread_park);
    if (crt__has_local(w)) {   // the hook made work; or a producer is between its two steps
        crt__cpu_relax();
        crt__park_hook(rt, rt->config.on_thread_unpark);
        return;
    }
    crt__idle_enter(w);
    crt__atomic_fence(CRT__SEQ_CST);
    if (crt__anything_to_do(w)) {
        if (crt__idle_leave(w)) crt__search_begin(w);
        else w->searching = true;
        crt__cpu_relax();   // a producer may be between its two steps
        crt__park_hook(rt, rt->config.on_thread_unpark);
        return;
    }
    for (;;) {
        bool drove = false;
        int events = 0;
        crt__count(&w->park_unparks, 1);
        if (crt__driver_enter(rt)) {
            drove = true;
            // Somebody else runs: stay watchful, less and less often.
            crt__atomic_store(&rt->monitor_asleep, 1, CRT__SEQ_CST);
            uint32_t unparked = crt__atomic_load(&rt->idle.word, CRT__SEQ_CST) >> 16;
            int64_t most = -1;
            if (unparked) {
                crt__atomic_store(&rt->monitor_asleep, 0, CRT__SEQ_CST);
                most = watch;
                watch = crt__min(watch * 2, 10000000);
            }
            events = crt__driver_wait(w, most);
            crt__atomic_store(&rt->monitor_asleep, 0, CRT__SEQ_CST);
            crt__driver_leave(rt);
        } else {
            uint32_t empty = CRT__EMPTY;
            if (crt__atomic_cas(&w->park, &empty, CRT__PARKED, CRT__SEQ_CST, CRT__SEQ_CST))
                while (crt__atomic_load(&w->park, CRT__ACQUIRE) == CRT__PARKED)
                    crt__futex_wait(&w->park, CRT__PARKED, -1);
            crt__atomic_xchg(&w->park, CRT__EMPTY, CRT__SEQ_CST);
        }
        crt__count(&w->park_unparks, 1);
        if (crt__has_local(w)) {   // the driver woke tasks
            if (!crt__idle_leave(w)) w->searching = true;
            break;
        }
        crt__lock(&rt->idle.lock);
        bool still = w->sleeping;
        crt__unlock(&rt->idle.lock);
        if (!still) {   // taken out: somebody has work
            w->searching = true;
            break;
        }
        if (crt__stopping(rt) || crt__atomic_load(&rt->closing, CRT__ACQUIRE)) {
            if (!crt__idle_leave(w)) w->searching = true;
            break;
        }
        if (drove && !events) {
            crt_task *t = crt__rescue_lifo(w, crt__clock(), 900000);
            if (t) {
                if (!crt__idle_leave(w)) w->searching = true;
                crt__push_back(w, t);
                break;
            }
        }
        crt__count(&w->noops, 1);
    }
    w->batch_start = crt__clock();
    if (jobs_since) crt__spin_learn(&w->spin, rt->pool.spin_most, w->batch_start - jobs_since);
    crt__park_hook(rt, rt->config.on_thread_unpark);
    // Before any task runs, the driver goes to a worker that is idle.
    if (crt__has_local(w) && crt__atomic_load(&rt->idle.count, CRT__ACQUIRE)) crt__notify_one(rt);
}

static void crt__enter(crt_runtime *rt, crt__worker *w, crt_cx *cx)
{
    crt__tls.rt = rt;
    crt__tls.worker = w;
    crt__tls.in_task = 0;
    memset(cx, 0, sizeof *cx);
    cx->rt = rt;
    cx->worker = w;
    cx->budget = CRT__BUDGET;
    w->cx = cx;
    w->batch_start = crt__clock();
    w->batch_polls = 0;
    crt__atomic_store(&w->thread_id, crt__thread_number(), CRT__RELAXED);
}

// In shutdown each worker cancels everything once more when it sees the flag: by
// then it can spawn no more.
static void crt__worker_maintain(crt__worker *w, bool *aborted)
{
    crt_runtime *rt = w->rt;
    if (CRT__UNLIKELY(crt__atomic_load(&rt->closing, CRT__ACQUIRE)) && !*aborted) {
        *aborted = true;
        crt__abort_all(rt);
    }
}

// Time is up: every task that is queued is polled once more, so that each gets its
// unwind. False: the worker was handed over meanwhile.
static CRT__COLD bool crt__last_round(crt__worker *w, crt_cx *cx)
{
    crt_runtime *rt = w->rt;
    bool from_lifo;
    crt__worker_maintain(w, &(bool){false});
    crt__release_deferred(w);
    size_t ready = crt__injected(rt) + CRT__RING + 1;
    for (crt_task *t = w->fifo.head; t; t = t->next) ready++;
    for (crt_task *t; ready--;) {
        if (!(t = crt__next_task(w, &from_lifo)) && !(t = crt__inject_pop(&rt->background))) break;
        cx->budget = CRT__BUDGET;
        crt__run_task(w, cx, t);
        if (crt__tls.worker != w) return false;
    }
    return true;
}

static void crt__worker_loop(crt__worker *w)
{
    crt_runtime *rt = w->rt;
    crt_cx cx;
    bool from_lifo, aborted = false;
    uint32_t since = 0, yielded = 0;
    crt__enter(rt, w, &cx);
    while (!crt__stopping(rt)) {
        crt__worker_maintain(w, &aborted);
        crt_task *t = crt__next_task(w, &from_lifo);
        // With tasks of its own that only yielded a worker looks around now and then:
        // looking takes cache lines away from whom it looks at.
        if (!t && (!w->deferred.head || ++yielded % 8 == 0)) t = crt__steal(w);
        if (!t && !w->deferred.head) t = crt__inject_pop(&rt->background);
        if (!t) {
            if (aborted && crt__alive(rt) == 0) break;
            crt__worker_park(w);
            since = 0;
            continue;
        }
        if (w->searching) crt__search_end(w);
        if (CRT__UNLIKELY(w->deferred.head != NULL) && crt__atomic_load(&rt->idle.count, CRT__RELAXED)) {
            crt__release_deferred(w);   // somebody else can run what yielded
            crt__notify_one(rt);
        }
        if (!from_lifo || !cx.budget) cx.budget = CRT__BUDGET;
        crt__run_task(w, &cx, t);
        if (CRT__UNLIKELY(crt__tls.worker != w)) return;   // handed over: see crt_block_in_place
        if (CRT__UNLIKELY(++since >= (uint32_t)rt->config.event_interval)) {
            since = 0;
            crt__in_passing(w);
        }
    }
    if (w->searching) {
        w->searching = false;
        crt__atomic_sub(&rt->idle.word, 1, CRT__SEQ_CST);
    }
    if (!crt__last_round(w, &cx)) return;
    crt__tls.worker = NULL;
    crt__tls.rt = NULL;
}

static void crt__thread_begin(crt_runtime *rt)
{
    crt__thread_set_name(rt->thread_name);
    crt__tls.rt = rt;
    crt__park_hook(rt, rt->config.on_thread_start);
}
static void crt__thread_end(crt_runtime *rt)
{
    crt__tls.rt = rt;
    crt__park_hook(rt, rt->config.on_thread_stop);
    crt__tls.rt = NULL;
}

static void crt__finish_shutdown(crt_runtime *rt);

// A worker's loop has ended for good; the last one out tidies up.
static CRT__COLD void crt__worker_done(crt_runtime *rt)
{
    // Wake the others: nothing is alive, they may go too.
    crt__wake_all(rt);
    if (crt__atomic_sub(&rt->threads_alive, 1, CRT__ACQ_REL) == 1) crt__finish_shutdown(rt);
}
static void *crt__worker_main(void *arg)
{
    crt__worker *w = arg;
    crt_runtime *rt = w->rt;
    crt__thread_begin(rt);
    crt__worker_loop(w);
    bool ended = crt__tls.worker == NULL && crt__tls.rt == NULL;
    crt__thread_end(rt);
    if (ended) crt__worker_done(rt);
    crt__atomic_store(&w->thread_done, 1, CRT__RELEASE);
    crt__atomic_sub(&rt->threads_running, 1, CRT__ACQ_REL);
    crt__futex_wake(&rt->threads_running, INT_MAX);
    crt__rt_unref(rt);
    return NULL;
}

// --- current thread: whoever calls drives

static CRT__COLD void crt__root_done(crt_runtime *rt)
{
    if (crt__is_multi(rt)) return;
    crt__atomic_add(&rt->driving, 2, CRT__SEQ_CST);
    crt__futex_wake(&rt->driving, INT_MAX);
}
static bool crt__virtual_idle(crt_runtime *rt);

static void crt__run_here(crt__worker *w, crt_cx *cx, crt_task *t)
{
    cx->budget = CRT__BUDGET;
    crt__run_task(w, cx, t);
}
// Runs ready tasks, up to event_interval, or `most`. How many.
static uint32_t crt__run_ready(crt__worker *w, crt_cx *cx, uint32_t most)
{
    crt_runtime *rt = w->rt;
    uint32_t n = 0;
    while (n < most) {
        bool queued = w->fifo.head || crt__inject_length(&rt->inject) || crt__inject_length(&rt->urgent);
        crt_task *t = queued ? crt__next_first(w) : NULL;
        if (!t && queued) t = crt__next_here(w);
        if (!t && !w->deferred.head) t = crt__inject_pop(&rt->background);
        if (!t) break;
        crt__run_here(w, cx, t);
        n++;
    }
    return n;
}
// Drives until *done, or until nothing is alive (shutdown), or past `deadline` (by
// the real clock).
static void crt__drive(crt_runtime *rt, const uintptr_t *done, crt_instant deadline)
{
    crt__worker *w = &rt->workers[0];
    crt__context outer = crt__tls;
    crt_cx cx;
    bool aborted = false;
    crt__atomic_xchg(&w->park, CRT__EMPTY, CRT__SEQ_CST);
    crt__enter(rt, w, &cx);
    for (;;) {
        if (done ? crt__atomic_load(done, CRT__ACQUIRE) == CRT__JOIN_DONE : crt__alive(rt) == 0) break;
        if (crt__stopping(rt)) break;   // a shutdown's deadline has passed
        crt__worker_maintain(w, &aborted);
        uint32_t ran = crt__run_ready(w, &cx, (uint32_t)rt->config.event_interval);
        if (done && crt__atomic_load(done, CRT__ACQUIRE) == CRT__JOIN_DONE) break;
        if (!done && crt__alive(rt) == 0) break;
        crt__batch_end(w);
        int64_t most = -1;
        if (deadline != CRT_FOREVER) {
            most = deadline - crt__clock();
            if (most <= 0) break;
        }
        if (w->fifo.head || w->deferred.head || crt__injected(rt)) {
            crt__drivers_poll(w);
            if (!ran) crt__cpu_relax();   // a producer may be between its two steps
            continue;
        }
        if (crt__virtual_idle(rt)) continue;
        int64_t jobs_since = 0;
        if (CRT__UNLIKELY(crt__atomic_load(&rt->pool.outstanding, CRT__RELAXED) != 0)) {
            if (crt__spin_for_jobs(w)) continue;
            jobs_since = crt__clock();
        }
        crt__park_hook(rt, rt->config.on_thread_park);
        crt__count(&w->park_unparks, 1);
        crt__driver_enter(rt);
        if (w->fifo.head) crt__driver_turn(rt, 0);   // the hook made work
        else crt__driver_wait(w, most);
        crt__driver_leave(rt);
        crt__count(&w->park_unparks, 1);
        w->batch_start = crt__clock();
        if (jobs_since) crt__spin_learn(&w->spin, rt->pool.spin_most, w->batch_start - jobs_since);
        crt__park_hook(rt, rt->config.on_thread_unpark);
    }
    // Time is up for all: each cleanup begins.
    if (crt__stopping(rt) || (deadline != CRT_FOREVER && crt__clock() >= deadline)) crt__last_round(w, &cx);
    crt__batch_end(w);
    w->cx = NULL;
    crt__tls = outer;
    // Nobody drives now: wakes from outside make the poll descriptor readable. So does a timer that is left, as
    // another thread's loop over that descriptor has not asked for it. (The end says itself that it has come.)
    crt__atomic_store(&w->park, CRT__PARKED_DRIVER, CRT__SEQ_CST);
    bool work = crt__has_local(w) || w->deferred.head || crt__injected(rt);
    bool ends = crt__atomic_load(&rt->closing, CRT__ACQUIRE) != 0;
    if (work || (!ends && crt__wheels_next(rt) != CRT_FOREVER)) crt__unpark(w);
}
static bool crt__drive_begin(crt_runtime *rt)
{
    uint32_t d = crt__atomic_load(&rt->driving, CRT__SEQ_CST);
    while (!(d & 1))
        if (crt__atomic_cas_weak(&rt->driving, &d, d | 1, CRT__SEQ_CST, CRT__SEQ_CST)) return true;
    return false;
}
// The same for who does not wait for it. `refused`: whoever has the turn only to ask a question
// (crt_runtime_next_deadline) and finds it set afterwards makes the poll descriptor readable.
static bool crt__drive_try(crt_runtime *rt)
{
    if (crt__drive_begin(rt)) return true;
    crt__atomic_store(&rt->refused, 1, CRT__SEQ_CST);
    return crt__drive_begin(rt);   // who had it may have looked before
}
static void crt__drive_end(crt_runtime *rt)
{
    // The deadline of a shutdown has passed, and it may have gone without us: what is left is ours to end. It
    // may go between that look and the end of our turn: "give the turn back, read stop" against its "store
    // stop, try to take the turn", all sequentially consistent.
    do {
        if (CRT__UNLIKELY(crt__stopping(rt)) && !crt__atomic_load(&rt->shutdown_done, CRT__ACQUIRE)) {
            crt__drive(rt, NULL, CRT_FOREVER);   // stops at once: each cleanup begins, if it has not yet
            crt__finish_shutdown(rt);
        }
        crt__atomic_add(&rt->driving, 1, CRT__SEQ_CST);   // clears bit 0, counts on
        crt__futex_wake(&rt->driving, INT_MAX);
    } while (CRT__UNLIKELY(crt__stopping(rt)) && !crt__atomic_load(&rt->shutdown_done, CRT__ACQUIRE) &&
             crt__drive_begin(rt));
}
// Several threads in crt_block_on: one drives, the others wait for their own root
// or for their turn. `driving`: bit 0 taken, the rest counts changes.
static void crt__drive_until(crt_runtime *rt, const uintptr_t *done)
{
    while (crt__atomic_load(done, CRT__ACQUIRE) != CRT__JOIN_DONE) {
        uint32_t seen = crt__atomic_load(&rt->driving, CRT__ACQUIRE);
        if (!crt__stopping(rt) && crt__drive_begin(rt)) {
            crt__drive(rt, done, CRT_FOREVER);
            crt__drive_end(rt);
        } else if (crt__atomic_load(done, CRT__ACQUIRE) != CRT__JOIN_DONE && ((seen & 1) || crt__stopping(rt))) {
            crt__futex_wait(&rt->driving, seen, -1);
        }
    }
}

// ---------------------------------------------------------------------------
// >>blocking      threads for code that blocks
// ---------------------------------------------------------------------------
// Jobs are tasks without a poll: they share the state word, the join word and the
// memory. They wait in an injection queue, so handing one over takes no lock.
// Threads come one at a time. `coming` says that one is on its way to the queue: just
// started, just woken, or spinning after its last job. When it has taken a job and
// more wait, it has the next one come before it runs its own. So trivial jobs pay
// neither for 512 threads nor for a wake-up each, and jobs that block get theirs.
//
// Invariant: while a job is queued, a thread is coming, or all the threads that may
// exist are running jobs and will look when they are done. Hence a job that is pushed
// while one is coming needs no signal. "Push, read `coming`" and "clear `coming`, read
// the queue" are sequentially consistent, as are "push, read `idle`" and "count up
// idle, read the queue". (Shutdown wakes all: then `coming` may be cleared early, which
// costs a signal.)
//
// `idle` counts threads that sleep; who takes one out of it adds a token and wakes
// one waiter on the futex word `tokens`. Each token is for a thread that has been
// taken out of `idle`, so none is lost and only idle threads are signalled.
//
// A thread that finds nothing spins before it sleeps, if that would have paid off the
// last time: two wake-ups across processors take longer than most short jobs.

typedef struct crt__job {
    intptr_t (*fn)(void *);
    void *arg;
} crt__job;

static void *crt__pool_main(void *arg);

// Takes a job that has not begun. The winner owns ACTIVE and must complete it; `cancels`
// says CRT__CANCELLED if it will not run it, else 0. Only then are the frame and flags its own.
static bool crt__job_claim(crt_task *t, uint32_t cancels)
{
    uint32_t s = crt__atomic_load(&t->state, CRT__ACQUIRE);
    while ((s & (CRT__NOTIFIED | CRT__ACTIVE | CRT__COMPLETE)) == CRT__NOTIFIED)
        if (crt__atomic_cas_weak(&t->state, &s, (s & ~(uint32_t)CRT__NOTIFIED) | CRT__ACTIVE | cancels,
                                 CRT__ACQ_REL, CRT__ACQUIRE))
            return true;
    return false;
}
static void crt__job_ended(crt_runtime *rt)
{
    if (crt__atomic_sub(&rt->pool.outstanding, 1, CRT__ACQ_REL) == 1 &&
        crt__atomic_load(&rt->clock_paused, CRT__ACQUIRE))
        crt__unpark(&rt->workers[0]);   // time may run on
}
// Ends a claimed job without running it.
static CRT__COLD void crt__job_abandon(crt_task *t)
{
    crt_runtime *rt = t->home->rt;
    crt__atomic_store(&t->flags, t->flags | CRT__TASK_WAS_CANCELLED, CRT__RELAXED);   // crt__is_takeover looks
    crt__task_complete(t, CRT_UNWIND, 0);
    crt__job_ended(rt);
}
// False: it has begun, or ended.
static CRT__COLD bool crt__job_cancel(crt_task *t)
{
    if (!crt__job_claim(t, CRT__CANCELLED)) return false;
    crt__job_abandon(t);
    return true;
}

// Counts one more thread; false if there are enough.
static bool crt__pool_enter(crt_runtime *rt)
{
    uint32_t n = crt__atomic_load(&rt->pool.threads, CRT__SEQ_CST);
    while (n < (uint32_t)rt->config.max_blocking_threads)
        if (crt__atomic_cas_weak(&rt->pool.threads, &n, n + 1, CRT__SEQ_CST, CRT__SEQ_CST)) return true;
    return false;
}
// Starts the thread that has been counted and is coming. 0 or -errno.
static CRT__COLD int crt__pool_start(crt_runtime *rt)
{
    crt__pool *p = &rt->pool;
    crt__atomic_add(&p->alive, 1, CRT__ACQ_REL);
    crt__atomic_add(&rt->refs, 1, CRT__RELAXED);
    crt__thread thread;
    int e = crt__thread_start(&thread, crt__pool_main, rt, rt->config.thread_stack_size);
    if (!e) return 0;
    crt__atomic_store(&p->coming, 0, CRT__SEQ_CST);
    crt__atomic_sub(&p->alive, 1, CRT__ACQ_REL);
    crt__futex_wake(&p->alive, INT_MAX);
    crt__rt_unref(rt);
    return crt__atomic_sub(&p->threads, 1, CRT__SEQ_CST) == 1 ? e : 0;
}
// Takes one thread out of those that sleep, if there is any, and wakes it.
static bool crt__pool_wake(crt__pool *p)
{
    uint32_t idle = crt__atomic_load(&p->idle, CRT__SEQ_CST);
    while (idle)
        if (crt__atomic_cas_weak(&p->idle, &idle, idle - 1, CRT__SEQ_CST, CRT__SEQ_CST)) {
            crt__atomic_add(&p->tokens, 1, CRT__SEQ_CST);
            crt__futex_wake(&p->tokens, 1);
            return true;
        }
    return false;
}
// Somebody should look at the queue. 0; -errno: no thread can be started, and there is none.
static int crt__pool_signal(crt_runtime *rt)
{
    crt__pool *p = &rt->pool;
    for (;;) {
        uint32_t none = 0;
        if (crt__atomic_load(&p->coming, CRT__SEQ_CST)) return 0;
        if (!crt__atomic_load(&p->idle, CRT__SEQ_CST) &&
            crt__atomic_load(&p->threads, CRT__SEQ_CST) >= (uint32_t)rt->config.max_blocking_threads)
            return 0;
        if (!crt__atomic_cas(&p->coming, &none, 1, CRT__SEQ_CST, CRT__SEQ_CST)) return 0;
        if (crt__pool_wake(p)) return 0;
        if (crt__pool_enter(rt)) return crt__pool_start(rt);
        // Full meanwhile. Who saw `coming` relied on us: decide again.
        crt__atomic_store(&p->coming, 0, CRT__SEQ_CST);
    }
}
static intptr_t crt__takeover(void *arg);
// Of a job that is nobody's yet, or that somebody cancels right now: only that flag changes.
static bool crt__is_takeover(crt_task *t)
{
    if (crt__atomic_load(&t->flags, CRT__RELAXED) & CRT__TASK_MEMBER) return false;
    return ((crt__job *)(void *)(t + 1))->fn == crt__takeover;
}
static void crt__call_dropped(crt_runtime *rt, intptr_t (*fn)(void *), void *arg);

// Cancels what is queued.
static CRT__COLD void crt__pool_drain(crt_runtime *rt)
{
    while (crt__inject_length(&rt->pool.queue)) {
        crt_task *t = crt__inject_pop(&rt->pool.queue);
        if (!t) {
            crt__cpu_relax();
            continue;
        }
        // Without a thread for it, who gave the worker away keeps it, unless all is over.
        bool kept = crt__is_takeover(t) && !crt__atomic_load(&rt->pool.stop, CRT__SEQ_CST);
        if (!kept && crt__job_claim(t, CRT__CANCELLED)) {
            crt__job job = *(crt__job *)crt__task_frame(t);
            crt__job_abandon(t);
            if (job.fn == crt__takeover) crt__worker_done(rt);   // nobody runs its loop any more
            else crt__call_dropped(rt, job.fn, job.arg);
        }
        crt__task_unref(t, 1);
    }
}
// There is no thread and none can be started: jobs that relied on one are cancelled.
static CRT__COLD void crt__pool_give_up(crt_runtime *rt, int e)
{
    crt__say_no_thread(rt, "blocking work", e);
    crt__pool_drain(rt);
}
static bool crt__crew_add(crt__crew *c, crt_task *t, uint64_t key, bool join, uint32_t more_refs);
static void crt__crew_forget(crt_task *t);
static uint32_t crt__crew_flags(const crt__crew *c);

// A shutdown closes the pool to others at once, to its own tasks when the last of them has ended: a cleanup
// may write a file.
static bool crt__pool_closed(crt_runtime *rt)
{
    return crt__atomic_load(crt__tls.rt == rt ? &rt->pool.stop : &rt->closing, CRT__ACQUIRE) != 0;
}
// `join` and `crew` may be NULL.
static int crt__pool_spawn_in(crt_runtime *rt, crt__worker *w, crt_join_handle **join, crt__crew *crew,
                              intptr_t (*f)(void *), void *arg)
{
    crt__job job = {f, arg};
    if (join) *join = NULL;
    if (!rt || !f) return CRT_EINVAL;
    if (!CRT__THREADS) {
        crt__say(rt, CRT_LOG_ERROR, "blocking work needs a thread, and this is a build with CRT_NO_THREADS");
        return -ENOTSUP;
    }
    if (crt__pool_closed(rt)) return CRT_ESHUTDOWN;
    crt_task *t = crt__task_alloc(rt, w, sizeof job + (crew ? sizeof(crt__member) : 0));
    if (!t) return CRT_ENOMEM;
    crt__task_init(t, w, NULL, &job, sizeof job, crew ? CRT__TASK_MEMBER : 0);
    // Two more references: the queue's, since an aborted job ends before it leaves
    // the queue; ours, until the end of this function.
    if (crew) (void)crt__crew_add(crew, t, 0, true, 2);   // a join set takes any
    else crt__task_publish(t, join != NULL, 2);
    crt__atomic_add(&rt->pool.outstanding, 1, CRT__ACQ_REL);
    if (join) *join = (crt_join_handle *)t;
    crt__inject_push(&rt->pool.queue, t, t, 1);
    int e = crt__pool_signal(rt);
    if (CRT__UNLIKELY(e != 0)) {
        if (crt__job_claim(t, CRT__CANCELLED)) {
            if (crew) crt__crew_forget(t);
            crt__job_abandon(t);
            if (join) crt_detach(join);
            crt__pool_give_up(rt, e);
        } else {
            e = 0;   // a thread that was about to end has taken it
        }
    }
    if (CRT__UNLIKELY(crt__atomic_load(&rt->pool.stop, CRT__SEQ_CST))) crt__pool_drain(rt);   // shut down meanwhile
    crt__task_unref(t, 1);
    return e;
}
static int crt__pool_spawn(crt_runtime *rt, crt__worker *w, crt_join_handle **join, intptr_t (*f)(void *), void *arg)
{
    return crt__pool_spawn_in(rt, w, join, NULL, f, arg);
}

// Waits for a token. False: keep-alive has passed, the thread may end.
static bool crt__pool_wait(crt_runtime *rt)
{
    crt__pool *p = &rt->pool;
    for (;;) {
        uint32_t tokens = crt__atomic_load(&p->tokens, CRT__SEQ_CST);
        while (tokens)
            if (crt__atomic_cas_weak(&p->tokens, &tokens, tokens - 1, CRT__SEQ_CST, CRT__SEQ_CST)) return true;
        if (crt__futex_wait(&p->tokens, 0, rt->config.thread_keep_alive) == 0) continue;
        uint32_t idle = crt__atomic_load(&p->idle, CRT__SEQ_CST);
        while (idle)   // leave; if somebody took us out already, a token comes
            if (crt__atomic_cas_weak(&p->idle, &idle, idle - 1, CRT__SEQ_CST, CRT__SEQ_CST)) return false;
    }
}
static void crt__pool_run(crt_runtime *rt, crt_task *t)
{
    if (!crt__job_claim(t, 0)) {   // aborted: only the queue's reference is left to drop
        crt__task_unref(t, 1);
        return;
    }
    crt__job *job = crt__task_frame(t);
    bool counts = job->fn != crt__takeover;
    crt__tls.rt = rt;
    intptr_t r = job->fn(job->arg);
    crt__tls.worker = NULL;
    crt__tls.rt = rt;
    crt__tls.in_task = 0;
    crt__task_complete(t, r, 1);
    if (CRT__LIKELY(counts)) crt__job_ended(rt);
}
// No thread is coming any more: it has a job, or has found none.
static void crt__pool_arrived(crt__pool *p, bool *coming)
{
    if (!*coming) return;
    *coming = false;
    crt__atomic_store(&p->coming, 0, CRT__SEQ_CST);
}
// Waits for a job without sleeping. True: there may be one.
static bool crt__pool_spin(crt__pool *p, bool *coming)
{
    uint32_t none = 0, rounds = crt__atomic_load(&p->spin, CRT__RELAXED);
    if (!rounds) return false;
    if (!*coming && !crt__atomic_cas(&p->coming, &none, 1, CRT__SEQ_CST, CRT__RELAXED)) return false;
    *coming = true;
    for (; rounds; rounds--) {
        crt__cpu_relax();   // a producer may be between its two steps
        if (crt__inject_length(&p->queue) || crt__atomic_load(&p->stop, CRT__RELAXED)) return true;
    }
    return false;
}
// Sleeps until it is taken out of `idle`, and so is coming. False: the thread may end.
static bool crt__pool_sleep(crt_runtime *rt)
{
    crt__pool *p = &rt->pool;
    int64_t begun = crt__clock();
    if (!crt__pool_wait(rt)) return false;
    crt__spin_learn(&p->spin, p->spin_most, crt__clock() - begun);
    return true;
}
static void crt__pool_work(crt_runtime *rt, bool coming)
{
    crt__pool *p = &rt->pool;
    for (;;) {
        crt_task *t = crt__inject_pop(&p->queue);
        if (t) {
            crt__pool_arrived(p, &coming);
            if (crt__inject_length(&p->queue)) (void)crt__pool_signal(rt);
            crt__pool_run(rt, t);
            continue;
        }
        if (crt__pool_spin(p, &coming) && !crt__atomic_load(&p->stop, CRT__SEQ_CST)) continue;
        crt__pool_arrived(p, &coming);
        if (crt__atomic_load(&p->stop, CRT__SEQ_CST)) return;
        crt__atomic_add(&p->idle, 1, CRT__SEQ_CST);
        if (crt__inject_length(&p->queue) || crt__atomic_load(&p->stop, CRT__SEQ_CST)) {
            uint32_t idle = crt__atomic_load(&p->idle, CRT__SEQ_CST);
            bool out = false;
            while (idle && !out)
                out = crt__atomic_cas_weak(&p->idle, &idle, idle - 1, CRT__SEQ_CST, CRT__SEQ_CST);
            if (!out) coming = crt__pool_wait(rt);   // taken out by somebody: use up the token
            crt__cpu_relax();
            continue;
        }
        coming = crt__pool_sleep(rt);
        if (!coming) return;
    }
}
// A thread that is about to end leaves the count, then looks once more: a job that
// came meanwhile may have found the pool full and relied on it. True: it goes on.
static bool crt__pool_stays(crt_runtime *rt)
{
    crt__pool *p = &rt->pool;
    crt__atomic_sub(&p->threads, 1, CRT__SEQ_CST);
    crt__atomic_fence(CRT__SEQ_CST);
    // If the pool is full without it, the others will look when they leave.
    return crt__inject_length(&p->queue) && crt__pool_enter(rt);
}
static void *crt__pool_main(void *arg)
{
    crt_runtime *rt = arg;
    crt__pool *p = &rt->pool;
    crt__thread_begin(rt);
    bool first = true;
    do crt__pool_work(rt, first);
    while (first = false, crt__pool_stays(rt));
    crt__thread_end(rt);
    // Each thread that ends joins the one that ended before it.
    crt__lock(&p->exit_lock);
    bool before = p->has_zombie, abandoned = p->abandoned;
    crt__thread other = p->zombie;
    if (!abandoned) p->zombie = crt__thread_self();
    p->has_zombie = !abandoned;
    crt__unlock(&p->exit_lock);
    if (before) crt__thread_join(other);
    if (abandoned) crt__thread_detach(crt__thread_self());
    crt__atomic_sub(&p->alive, 1, CRT__ACQ_REL);
    crt__futex_wake(&p->alive, INT_MAX);
    crt__rt_unref(rt);
    return NULL;
}

CRTDEF int crt_spawn_blocking(crt_cx *cx, crt_join_handle **join, intptr_t (*f)(void *), void *arg)
{
    return crt__pool_spawn(cx->rt, cx->worker, join, f, arg);
}
CRTDEF int crt_handle_spawn_blocking(crt_handle *h, crt_join_handle **join, intptr_t (*f)(void *), void *arg)
{
    return crt__pool_spawn((crt_runtime *)h, NULL, join, f, arg);
}

// The job that carries a worker on while its thread blocks. For that long its
// thread does not count as one of the pool's.
static intptr_t crt__takeover(void *arg)
{
    crt__worker *w = arg;
    crt_runtime *rt = w->rt;
    crt__job_ended(rt);   // a worker from here on: no job that a shutdown would count as left
    crt__atomic_sub(&rt->pool.threads, 1, CRT__SEQ_CST);
    crt__atomic_fence(CRT__SEQ_CST);
    int e = crt__inject_length(&rt->pool.queue) ? crt__pool_signal(rt) : 0;
    if (e) crt__pool_give_up(rt, e);   // jobs that were queued while this thread was on its way
    crt__worker_loop(w);
    bool ended = !crt__tls.worker && !crt__tls.rt;
    crt__atomic_add(&rt->pool.threads, 1, CRT__SEQ_CST);
    if (ended) crt__worker_done(rt);
    return 0;
}
CRTDEF intptr_t crt_block_in_place(crt_cx *cx, intptr_t (*f)(void *), void *arg)
{
    crt_runtime *rt = cx->rt;
    crt__worker *w = cx->worker;
    crt_join_handle *next = NULL;
    uint32_t inside = crt__tls.in_task;
    if (!crt__is_multi(rt) || (cx->task->flags & CRT__TASK_PINNED)) return CRT_ENOCONTEXT;
    if (!f) return CRT_EINVAL;
    // While f runs this thread acts for no worker: what f wakes or spawns goes to
    // the others. Tasks pinned to the worker must not change threads: then, as when
    // there is no thread to be had, the worker waits for f.
    if (w && w->wheel.fresh) crt__timers_settle(w);
    crt__tls.worker = cx->worker = NULL;
    if (w) crt__atomic_or(&cx->task->state, CRT__OFF, CRT__ACQ_REL);
    if (w && !crt__atomic_load(&w->pinned_live, CRT__ACQUIRE))
        (void)crt__pool_spawn(rt, NULL, &next, crt__takeover, w);
    crt__tls.in_task = 0;
    intptr_t r = f(arg);
    crt__tls.in_task = inside;
    crt__tls.rt = rt;
    // If nobody has come for the worker yet, keep it.
    if (w && (!next || crt__job_cancel(crt__joined(next)))) {
        crt__tls.worker = cx->worker = w;
        crt__atomic_and(&cx->task->state, ~(uint32_t)CRT__OFF, CRT__ACQ_REL);
    }
    crt_detach(&next);
    return r;
}

// ---------------------------------------------------------------------------
// >>spawn         new tasks
// ---------------------------------------------------------------------------
// A task is filled in, published (from then on others may find it), counted, submitted.
// Invariant: a shutdown waits for each, and cancels it. One from outside is counted before it
// is made, by a gate that the shutdown closes. One from a worker is cancelled by that worker,
// which walks over all tasks once more when it has seen `closing`, and spawns none after that.

// All of crt_spawn in one place. `w` is the worker of the calling thread, or NULL.
typedef struct crt__spawn_how {
    crt_fn fn;
    const void *frame;
    size_t size;
    uint32_t flags;
    crt_join_handle **join;
    const char *name;
    crt__crew *crew;      // the group that it belongs to
    uint64_t key;
    void *storage;
    size_t storage_size;
    const char *site;     // where, or NULL
} crt__spawn_how;

static int crt__storage_task(crt_runtime *rt, const crt__spawn_how *how, crt_task **out)
{
    crt__chunk *chunk = how->storage;
    size_t stride = sizeof(crt_task) + how->size + (how->crew ? sizeof(crt__member) : 0);
    if (rt->task_extra) stride = (stride + 7) / 8 * 8 + rt->task_extra;   // the record is aligned
    size_t needed = CRT__CHUNK_HEAD + stride;
    if ((uintptr_t)how->storage % 16 || how->storage_size < needed) {
        crt__say(rt, CRT_LOG_ERROR,
                 "crt_spawn_in: the storage is misaligned or too small for a frame of %lu bytes; "
                 "declare it with CRT_TASK_STORAGE(frame_type)", (unsigned long)how->size);
        return CRT_EINVAL;
    }
    if (crt_task_storage_busy(how->storage)) return CRT_EBUSY;
    chunk->rt = rt;
    chunk->class_ = CRT__CLASS_STORAGE;
    chunk->stride = (uint32_t)stride;
    chunk->count = 1;
    *out = crt__chunk_task(chunk, 0);
    (*out)->state = (*out)->flags = 0;
    (*out)->home = chunk;
    crt__atomic_store(&chunk->carved, 1, CRT__RELEASE);
    crt__lock(&rt->slab_lock);
    crt__chunk_link(rt, chunk);
    crt__unlock(&rt->slab_lock);
    return 0;
}
CRTDEF bool crt_task_storage_busy(const void *storage)
{
    const crt__chunk *chunk = storage;
    return crt__atomic_load(&chunk->carved, CRT__ACQUIRE) != 0;
}

// Counts a task that is about to be spawned from outside. False: closed.
static bool crt__gate(crt_runtime *rt)
{
    uint64_t n = crt__atomic_load(&rt->remote_spawned, CRT__RELAXED);
    while (!(n & 1))
        if (crt__atomic_cas_weak(&rt->remote_spawned, &n, n + 2, CRT__SEQ_CST, CRT__RELAXED)) return true;
    return false;
}
static CRT__COLD int crt__spawn_refused(crt_runtime *rt, crt__worker *w, int error)
{
    if (w) return error;
    crt__atomic_sub(&rt->remote_spawned, 2, CRT__SEQ_CST);   // let in by the gate, and never there
    if (crt__atomic_load(&rt->closing, CRT__SEQ_CST)) crt__wake_all(rt);
    return error;
}
static CRT__COLD void crt__spawn_noted(crt_runtime *rt, crt_task *t, const char *site)
{
    crt__record_of(t)->spawned_at = site;
    if (rt->config.on_task_spawn) crt__hook(t, rt->config.on_task_spawn, -1);
}
static int crt__spawn_task(crt_runtime *rt, crt__worker *w, const crt__spawn_how *how);
// No function, or no size that can be: see CRT__FRAME.
static CRT__COLD int crt__spawn_odd(crt_runtime *rt, crt__worker *w, const crt__spawn_how *how)
{
    if (!how->fn || how->size != CRT__NO_SIZE) return CRT_EINVAL;
    if (how->frame) {
        crt__say(rt, CRT_LOG_ERROR,
                 "the frame of a new task came without its size: by a void pointer, or crt_task_desc.size is 0");
        return CRT_EINVAL;
    }
    crt__spawn_how bare = *how;
    bare.size = sizeof(crt_frame);
    return crt__spawn_task(rt, w, &bare);
}
static int crt__spawn_task(crt_runtime *rt, crt__worker *w, const crt__spawn_how *how)
{
    crt_task *t;
    if (how->join) *how->join = NULL;
    if (CRT__UNLIKELY(!how->fn || how->size > UINT32_MAX / 2)) return crt__spawn_odd(rt, w, how);
    if (w) {
        if (CRT__UNLIKELY(crt__atomic_load(&rt->closing, CRT__RELAXED))) return CRT_ESHUTDOWN;
    } else if (!crt__gate(rt)) {
        return CRT_ESHUTDOWN;
    }
    if (CRT__UNLIKELY(how->storage != NULL)) {
        int e = crt__storage_task(rt, how, &t);
        if (e) return crt__spawn_refused(rt, w, e);
    } else {
        size_t room = how->flags & CRT__TASK_EXTERNAL ? sizeof(void *) : how->size;
        if (CRT__UNLIKELY(how->crew != NULL)) room += sizeof(crt__member);
        t = crt__task_alloc(rt, w, room);
        if (CRT__UNLIKELY(!t)) return crt__spawn_refused(rt, w, CRT_ENOMEM);
    }
    uint32_t flags = how->flags | rt->task_flags;
    if (CRT__UNLIKELY(how->crew != NULL)) flags |= crt__crew_flags(how->crew);
    crt__task_init(t, w, how->fn, how->frame, how->size, flags);
    if (CRT__UNLIKELY(how->name != NULL)) crt__ext_add_text(t, CRT__EXT_NAME, how->name, 63);
    crt__trace_spawn(t, how->site);
    if (CRT__LIKELY(how->crew == NULL)) {
        crt__task_publish(t, how->join != NULL, 0);
    } else if (!crt__crew_add(how->crew, t, how->key, how->join != NULL, 0)) {
        crt__task_free(t);
        return crt__spawn_refused(rt, w, CRT_ECANCELED);
    }
    if (CRT__UNLIKELY(how->flags & CRT__TASK_PINNED))
        crt__atomic_add(&rt->workers[how->flags >> CRT__TASK_WORKER_SHIFT].pinned_live, 1, CRT__RELAXED);
    if (w) crt__count(&w->spawned, 1);
    // Past the gate before it closed, but perhaps too late for the walk that cancels
    // every task. (A worker walks again once it has seen the flag.)
    else if (crt__atomic_fence(CRT__SEQ_CST), crt__atomic_load(&rt->closing, CRT__SEQ_CST))
        crt__atomic_or(&t->state, CRT__CANCELLED, CRT__ACQ_REL);
    if (how->join) *how->join = (crt_join_handle *)t;
    if (CRT__UNLIKELY(rt->task_extra)) crt__spawn_noted(rt, t, how->site);
    crt__submit(t);
    return 0;
}

static uint32_t crt__pin_to(const crt__worker *w)
{
    return CRT__TASK_PINNED | w->index << CRT__TASK_WORKER_SHIFT;
}
// Where a task that says "local" goes.
static int crt__spawn_local_how(crt_cx *cx, crt__spawn_how *how)
{
    if (cx->task->flags & CRT__TASK_PINNED) {
        how->flags |= cx->task->flags & (CRT__TASK_PINNED | ~0u << CRT__TASK_WORKER_SHIFT);
        how->crew = crt__member_of(cx->task)->crew;   // pinned tasks come from local sets only
    } else if (crt__is_multi(cx->rt)) {
        crt__say(cx->rt, CRT_LOG_ERROR,
                 "crt_spawn_local on the multi-thread flavour works inside a crt_local_set only");
        return CRT_ENOCONTEXT;
    }
    return 0;
}

// What crt__spawn_task does of the common case: a worker, a frame, nothing else. Published and
// counted, to be submitted; NULL: it is not that case, or there is something to be said.
static inline crt_task *crt__spawn_plain(crt_runtime *rt, crt__worker *w, crt_fn fn, const void *frame, size_t size,
                                         bool join, const char *site)
{
    if (CRT__UNLIKELY(!fn || !frame || size > UINT32_MAX / 2 || rt->task_extra)) return NULL;
    if (CRT__UNLIKELY(crt__atomic_load(&rt->closing, CRT__RELAXED))) return NULL;
    crt_task *t = crt__task_alloc(rt, w, size);
    if (CRT__UNLIKELY(!t)) return NULL;
    crt__task_init(t, w, fn, frame, size, 0);
    crt__trace_spawn(t, site);
    crt__task_publish(t, join, 0);
    crt__count(&w->spawned, 1);
    (void)site;   // the trace's
    return t;
}
CRTDEF int crt__spawn(crt_cx *cx, crt_join_handle **join, crt_fn fn, const void *frame, size_t size,
                      const char *site)
{
    crt__worker *w = cx->worker;
    crt_task *t = w ? crt__spawn_plain(cx->rt, w, fn, frame, size, join != NULL, site) : NULL;
    if (CRT__LIKELY(t != NULL)) {
        if (join) *join = (crt_join_handle *)t;
        crt__submit(t);
        return 0;
    }
    crt__spawn_how how = {.fn = fn, .frame = frame, .size = size, .join = join, .site = site};
    return crt__spawn_task(cx->rt, w, &how);
}
CRTDEF int crt__spawn_local(crt_cx *cx, crt_join_handle **join, crt_fn fn, const void *frame, size_t size,
                            const char *site)
{
    crt__spawn_how how = {.fn = fn, .frame = frame, .size = size, .join = join, .site = site};
    int e = crt__spawn_local_how(cx, &how);
    if (join) *join = NULL;
    return e ? e : crt__spawn_task(cx->rt, cx->worker, &how);
}
CRTDEF int crt__spawn_in(crt_cx *cx, void *storage, size_t storage_size, crt_join_handle **join,
                         crt_fn fn, const void *frame, size_t size, const char *site)
{
    crt__spawn_how how = {.fn = fn, .frame = frame, .size = size, .join = join, .site = site};
    how.storage = storage;
    how.storage_size = storage_size;
    if (join) *join = NULL;
    if (!storage) return CRT_EINVAL;
    return crt__spawn_task(cx->rt, cx->worker, &how);
}
CRTDEF int crt__handle_spawn(crt_handle *h, crt_join_handle **join, crt_fn fn, const void *frame, size_t size,
                             const char *site)
{
    crt_runtime *rt = (crt_runtime *)h;
    crt__spawn_how how = {.fn = fn, .frame = frame, .size = size, .join = join, .site = site};
    crt__worker *w = crt__tls.worker;
    if (join) *join = NULL;
    if (!h) return CRT_EINVAL;
    return crt__spawn_task(rt, w && w->rt == rt ? w : NULL, &how);
}
CRTDEF int crt__spawn_ex(crt_cx *cx, const crt_task_desc *d, const char *site)
{
    if (!d) return CRT_EINVAL;
    crt__spawn_how how = {.fn = d->fn, .frame = d->frame, .size = d->size, .join = d->join, .name = d->name};
    if (!d->size) how.size = CRT__NO_SIZE;
    crt_runtime *rt = d->handle ? (crt_runtime *)d->handle : cx->rt;
    crt__worker *w = crt__tls.worker;
    how.storage = d->storage;
    how.storage_size = d->storage_size;
    how.site = site;
    if (d->join) *d->join = NULL;
    if (d->size == CRT__NO_SIZE) return CRT_EINVAL;
    if (d->local) {
        int e = rt == cx->rt ? crt__spawn_local_how(cx, &how) : CRT_EINVAL;
        if (e) return e;
    } else if (d->priority) {
        how.flags |= d->priority > 0 ? CRT__TASK_URGENT : CRT__TASK_BACKGROUND;
    }
    return crt__spawn_task(rt, w && w->rt == rt ? w : NULL, &how);
}

// ---------------------------------------------------------------------------
// >>calls         blocking calls as leaves
// ---------------------------------------------------------------------------
// A call of the system that may block (getaddrinfo, open) becomes a leaf: it runs
// as a job, on memory of its own that the task and the job share. A cancelled wait
// lets go of it, and the job cleans up when it ends, so neither a buffer nor a
// descriptor is lost. A task waits in its word (see >>task): 0, that task, or DONE.

#if !defined(CRT_NO_NET) || !defined(CRT_NO_FS)
enum { CRT__CALL_DONE = 1 };
typedef struct crt__call {
    uintptr_t word;    // atomic
    uint32_t refs;     // atomic: the task's and the job's
    intptr_t (*run)(struct crt__call *call);
    void (*clean)(struct crt__call *call);   // frees what was not handed out
    intptr_t result;
    crt_join_handle *job;
} crt__call;

static CRT__OUTLINE void crt__call_unref(crt__call *c)
{
    if (crt__atomic_sub(&c->refs, 1, CRT__ACQ_REL) != 1) return;
    c->clean(c);
    CRT_FREE(c);
}
// The job's last word: the result is there.
static void crt__call_finish(crt__call *c)
{
    crt__word_wake(crt__atomic_xchg(&c->word, (uintptr_t)CRT__CALL_DONE, CRT__ACQ_REL));
    crt__call_unref(c);
}
static intptr_t crt__call_main(void *arg)
{
    crt__call *c = arg;
    c->result = c->run(c);
    crt__call_finish(c);
    return 0;
}
// The task has given it up: what only it wanted may stop.
CRT__UNUSED static bool crt__call_abandoned(crt__call *c)
{
    return crt__atomic_load(&c->refs, CRT__ACQUIRE) == 1;
}
// A zeroed call of `size` bytes (its payload follows crt__call), or NULL.
static void *crt__call_new(size_t size, intptr_t (*run)(crt__call *), void (*clean)(crt__call *))
{
    crt__call *c = CRT_MALLOC(size);
    if (!c) return NULL;
    memset(c, 0, size);
    c->refs = 1;
    c->run = run;
    c->clean = clean;
    return c;
}
CRT__UNUSED static void crt__op_call_cancel(crt_slot *slot)
{
    crt__call *c = slot->object;
    crt__word_unpark(&c->word, slot->task);
    if (crt__job_cancel(crt__joined(c->job))) crt__call_unref(c);   // the job's reference
    crt_detach(&c->job);
    crt__call_unref(c);
}
// Starts the call and parks. CRT_PENDING, or an error, with the call gone.
CRT__UNUSED static crt_poll crt__call_start(crt_cx *cx, const crt__op *op, crt__call *c)
{
    crt__task_ref(cx->task);
    c->word = (uintptr_t)cx->task;
    c->refs = 2;
    int e = crt__pool_spawn(cx->rt, cx->worker, &c->job, crt__call_main, c);
    if (e) {
        crt__task_unref(cx->task, 1);
        c->refs = 1;
        crt__call_unref(c);
        return e;
    }
    crt__slot_park(cx, cx->slot, op, c);
    return CRT_PENDING;
}
// The parked call: NULL while it runs, otherwise it is the caller's to unref.
static crt__call *crt__call_result(crt_cx *cx)
{
    crt__call *c = cx->slot->object;
    if (crt__atomic_load(&c->word, CRT__ACQUIRE) != CRT__CALL_DONE) return NULL;
    cx->slot->op = NULL;
    crt_detach(&c->job);
    return c;
}
#endif
#if !defined(CRT_NO_FS) || !defined(CRT_NO_PROCESS)
// A call that begins without a look at the budget, since what it is given has to be copied in this
// poll: its result takes of it, and so does an error that comes at once.
CRT__UNUSED static crt_poll crt__call_begin(crt_cx *cx, const crt__op *op, crt__call *c)
{
    crt_poll r = crt__call_start(cx, op, c);
    return r == CRT_PENDING ? r : crt__refuse(cx, r);
}
// As crt__call_result. NULL: later.
CRT__UNUSED static crt__call *crt__call_paid(crt_cx *cx)
{
    crt__call *c = cx->slot->object;
    bool done = crt__atomic_load(&c->word, CRT__ACQUIRE) == CRT__CALL_DONE;
    return done && crt__coop(cx) ? crt__call_result(cx) : NULL;
}
#endif
#ifndef CRT_NO_NET
static intptr_t crt__lookup_main(void *arg);
static void crt__lookup_leave(crt_runtime *rt);
#endif
static bool crt__is_call(intptr_t (*fn)(void *))
{
#if !defined(CRT_NO_NET) || !defined(CRT_NO_FS)
    return fn == crt__call_main;
#else
    return (void)fn, false;
#endif
}
// A job of the pool that will never run (shutdown, no thread to be had): if it was a
// call, whoever waits for it hears so.
static CRT__COLD void crt__call_dropped(crt_runtime *rt, intptr_t (*fn)(void *), void *arg)
{
    int e = crt__atomic_load(&rt->pool.stop, CRT__ACQUIRE) ? CRT_ESHUTDOWN : -EAGAIN;
#ifndef CRT_NO_NET
    if (fn == crt__lookup_main) {
        crt__lookup_leave(rt);
        ((crt__call *)arg)->result = e;
        crt__call_finish(arg);
    }
#endif
#if !defined(CRT_NO_NET) || !defined(CRT_NO_FS)
    if (crt__is_call(fn)) {
        ((crt__call *)arg)->result = e;
        crt__call_finish(arg);
    }
#endif
    (void)fn, (void)arg, (void)e;
}

CRTDEF void crt_free(void *memory)
{
    if (memory) CRT_FREE(memory);
}

// Room for more, with place for the zero. False: no memory.
CRT__UNUSED static bool crt__grow(void **data, size_t used, size_t *room, size_t hint)
{
    if (used + 1 < *room) return true;
    size_t more = *room ? *room * 2 : hint;
    void *bigger = CRT_MALLOC(more);
    if (!bigger) return false;
    if (used) memcpy(bigger, *data, used);
    if (*data) CRT_FREE(*data);
    *data = bigger;
    *room = more;
    return true;
}
// ---------------------------------------------------------------------------
// >>io            registrations, readiness, waiting for it
// ---------------------------------------------------------------------------
// One record for each watched descriptor, in a table that only grows, so that a
// late event finds memory that is valid, and a generation that tells it that the
// record has changed hands.
//
//   ready   63 .... 40   | 39 .. 16 | 15     | 14 .. 0
//             generation |   tick   | locked | readiness bits
//
// The word is its own lock, over itself and over the list of waiters: one CAS takes it, a
// plain store lets it go, so that an event, or a wait, costs one locked instruction. It is
// held for some twenty instructions; whoever finds it held spins, then naps.
//
// Invariants: each event adds its bits and counts the tick up under the lock, having
// checked the generation. An operation that met EAGAIN clears bits only if generation and
// tick are as they were when it looked: it never erases a newer edge, unless just 2^24 of
// them come between a look and a clear: at 300,000 a second, a minute in which one thread
// stands between two instructions while others run. A task that waits
// looks at the bits again under the lock: either it sees the event, or the event sees it.
// A woken task goes on only when the word is not locked: by then its waker, who stored
// the slot's state under the lock, is done with the slot and with the task.
//
// `spent` saves another locked instruction: a short read leaves there the tick that it
// looked at before. While that is the tick, READABLE means nothing (crt__ready_now); the
// next event or wait, under the lock, takes it out of the word. An event leaves nothing in
// `spent`, so an old tick is not met again when ticks have gone round. Relaxed: a tick seen
// with a newer word does not match it, and one not seen costs a read that is told EAGAIN.

// The operations below meet a stream without a descriptor (crt__soft) only where they
// would call the system.
typedef struct crt__sock {
    crt__u64 ready;      // atomic
    uint32_t spent;      // atomic: 0, or CRT__SPENT, the tick and 7 bits of the generation
    uint32_t refs;       // atomic: handles
    crt_slot *waiters;   // slot.extra: bits wanted | generation << 8 | ABROAD; slot.state: CRT__WAIT_*
    crt_runtime *rt;
    crt__fd fd;
    union {
        struct crt__sock *next_free;   // while it is nobody's
        crt__soft *soft;               // CRT__IO_SOFT; fd is -1
        int64_t complained;            // under the lock; a listener: when its back-off was logged
    } u;
    uint32_t index, flags;
    uint32_t pause_ms;             // atomic; accept: back-off while out of descriptors
    uint32_t child;                // atomic: of a child, CRT__CHILD_*; else 0
} crt__sock;                       // a cache line, where pointers have 64 bits
enum {
    CRT__SOCK_NODELAY = 1,   // accepted streams get TCP_NODELAY
    CRT__SOCK_FILE = 2,      // no socket (a pipe, a terminal): read and write, not recv and send
    CRT__SOCK_WHOLE = 4,     // a short transfer does not mean that the kernel has no more: pipes, packets, and
                             // Unix streams, where a read stops behind bytes that came with descriptors
    CRT__SOCK_UNIX = 8,      // datagrams over a Unix socket
    CRT__SOCK_PAIR = 16      // of crt_stream_pair
};
enum { CRT__WAIT_QUEUED = 1, CRT__WAIT_WOKEN = 2, CRT__WAIT_CLOSED = 3 };
enum { CRT__WAIT_BITS = 0xff, CRT__GENERATION = 0x7fffff };   // 23 bits of it fit every slot
enum { CRT__IO_LOCKED = 0x8000 };
#define CRT__SPENT 0x80000000u
#define CRT__WAIT_ABROAD 0x80000000u   // in slot.extra: see crt__io_abroad
enum {
    CRT__FOR_READ = CRT__READABLE | CRT__READ_CLOSED | CRT__IO_ERROR | CRT__IO_SHUTDOWN,
    CRT__FOR_WRITE = CRT__WRITABLE | CRT__WRITE_CLOSED | CRT__IO_ERROR | CRT__IO_SHUTDOWN
};

static crt__sock *crt__sock_at(crt_runtime *rt, uint32_t index)
{
    uint32_t n = index + 64, high = 31 - crt__clz32(n);   // 64 and up: its highest bit tells the table
    return crt__atomic_load(&rt->sock_table[high - 6], CRT__ACQUIRE) + (n ^ 1u << high);
}
static CRT__COLD void crt__sock_lock_slow(crt__sock *s)
{
    for (int spins = 0;; spins++) {
        uint64_t old = crt__atomic_load(&s->ready, CRT__RELAXED);
        if (!(old & CRT__IO_LOCKED) &&
            crt__atomic_cas_weak(&s->ready, &old, old | CRT__IO_LOCKED, CRT__ACQUIRE, CRT__RELAXED))
            return;
        if (spins < CRT__LOCK_SPINS) crt__cpu_relax();
        else crt__nap();
    }
}
static inline void crt__sock_lock(crt__sock *s)
{
    uint64_t old = crt__atomic_load(&s->ready, CRT__RELAXED);
    if (CRT__UNLIKELY(old & CRT__IO_LOCKED) ||
        CRT__UNLIKELY(!crt__atomic_cas(&s->ready, &old, old | CRT__IO_LOCKED, CRT__ACQUIRE, CRT__RELAXED)))
        crt__sock_lock_slow(s);
}
// For its holder: the word; and letting go of it with a new one, in one store: whoever sees
// a tick has synchronised with the event that made it.
static inline uint64_t crt__sock_word(crt__sock *s) { return crt__atomic_load(&s->ready, CRT__RELAXED); }
static inline void crt__sock_unlock_as(crt__sock *s, uint64_t word)
{
    crt__atomic_store(&s->ready, word & ~(uint64_t)CRT__IO_LOCKED, CRT__RELEASE);
}
static inline void crt__sock_unlock(crt__sock *s) { crt__sock_unlock_as(s, crt__sock_word(s)); }
static uint32_t crt__tick_of(uint64_t word) { return (uint32_t)(word >> 16) & 0xffffff; }
static uint64_t crt__generation_of(uint64_t word) { return word >> 40; }
// `word` without what is known to be spent.
static inline uint64_t crt__unspent(crt__sock *s, uint64_t word)
{
    bool spent = crt__atomic_load(&s->spent, CRT__RELAXED) == ((uint32_t)(word >> 16) | CRT__SPENT);
    return CRT__UNLIKELY(spent) ? word & ~(uint64_t)CRT__READABLE : word;
}
// What it is ready for.
static inline uint64_t crt__ready_now(crt__sock *s)
{
    return crt__unspent(s, crt__atomic_load(&s->ready, CRT__ACQUIRE));
}
static size_t crt__sock_table_bytes(uint32_t count) { return count * sizeof(crt__sock) + CRT__CACHE_LINE; }
#ifndef CRT_NO_NET
// Records begin where a cache line does.
static CRT__COLD void crt__sock_table_new(crt_runtime *rt, uint32_t table, uint32_t count)
{
    char *memory = crt__alloc_zero(rt, crt__sock_table_bytes(count));
    if (!memory) return;
    rt->sock_memory[table] = memory;
    memory += CRT__CACHE_LINE - (uintptr_t)memory % CRT__CACHE_LINE;
    crt__atomic_store(&rt->sock_table[table], (crt__sock *)(void *)memory, CRT__RELEASE);
}
static crt__sock *crt__sock_alloc(crt_runtime *rt)
{
    crt__sock *s = NULL;
    crt__lock(&rt->sock_lock);
    if ((s = rt->sock_free)) {
        rt->sock_free = s->u.next_free;
    } else {
        uint32_t index = rt->sock_count;
        uint32_t table = 25 - crt__clz32(index + 64), size = 64u << table;
        if (table < 20) {
            if (!rt->sock_table[table]) crt__sock_table_new(rt, table, size);
            if (rt->sock_table[table]) {
                rt->sock_count++;
                s = crt__sock_at(rt, index);
                s->index = index;
                s->rt = rt;
            }
        }
    }
    crt__unlock(&rt->sock_lock);
    return s;
}
static uint64_t crt__sock_token(crt__sock *s)
{
    return crt__generation_of(crt__atomic_load(&s->ready, CRT__RELAXED)) << 32 | s->index;
}
static void crt__sock_unalloc(crt_runtime *rt, crt__sock *s)
{
    crt__lock(&rt->sock_lock);
    s->u.next_free = rt->sock_free;
    rt->sock_free = s;
    crt__unlock(&rt->sock_lock);
}
#ifdef _WIN32
static crt__soft *crt__soft_of(crt__sock *s) { return s->u.soft; }
#endif
static bool crt__sock_is_soft(crt__sock *s) { return crt__atomic_load(&s->ready, CRT__RELAXED) & CRT__IO_SOFT; }
static void crt__sock_release(crt__sock *s)
{
    crt_runtime *rt = s->rt;
    crt__sock_unalloc(rt, s);
    crt__rt_unref(rt);
}
static void crt__ready_set(crt__sock *s, uint32_t bits)
{
    crt__sock_lock(s);
    crt__sock_unlock_as(s, crt__sock_word(s) | bits);
}
// A new generation, ready for nothing: events and waits of the old one miss from here on.
static void crt__ready_reset(crt__sock *s)
{
    crt__sock_lock(s);
    uint64_t generation = crt__generation_of(crt__atomic_load(&s->ready, CRT__RELAXED));
    crt__sock_unlock_as(s, (generation + 1) << 40);
}
// Gives a record its descriptor and watches it. On failure the record is gone.
static int crt__sock_watch(crt_runtime *rt, crt__sock *s, crt__fd fd, uint32_t ready, crt__sock **out)
{
    *out = NULL;
    crt__atomic_add(&rt->refs, 1, CRT__RELAXED);
    s->fd = fd;
    s->flags = s->pause_ms = 0;
    s->u.complained = 0;
    crt__atomic_store(&s->spent, 0, CRT__RELAXED);
    crt__ready_set(s, ready);
    // Made while its runtime ends, by a thread outside (crt_try_accept): either we see that, or
    // crt__sock_shutdown_all, which takes the lock of the table afterwards, finds the record.
    if (CRT__UNLIKELY(crt__atomic_load(&rt->ended, CRT__RELAXED))) crt__ready_set(s, CRT__IO_SHUTDOWN);
    int e = crt__reactor_add(rt->reactor, fd, crt__sock_token(s));
    if (e) {
        crt__ready_reset(s);
        crt__sock_release(s);
        return e;
    }
    crt__atomic_store(&s->refs, 1, CRT__RELEASE);   // not before: a record that is free has none
    crt__atomic_add(&rt->fd_registered, 1, CRT__RELAXED);
    *out = s;
    return 0;
}
// The same, and on failure the descriptor is closed too.
static int crt__sock_attach(crt_runtime *rt, crt__sock *s, crt__fd fd, uint32_t ready, crt__sock **out)
{
    int e = crt__sock_watch(rt, s, fd, ready, out);
    if (e) crt__fd_close(fd);
    return e;
}
// A record that owns fd and watches it. On failure fd is closed. 0 or an error.
static int crt__sock_new(crt_runtime *rt, crt__fd fd, uint32_t ready, crt__sock **out)
{
    crt__sock *s = crt__sock_alloc(rt);
    *out = NULL;
    if (s) return crt__sock_attach(rt, s, fd, ready, out);
    crt__fd_close(fd);
    return CRT_ENOMEM;
}
#endif   // CRT_NO_NET
static void crt__sock_unlink(crt__sock *s, crt_slot *slot)
{
    if (slot->prev) slot->prev->next = slot->next;
    else s->waiters = slot->next;
    if (slot->next) slot->next->prev = slot->prev;
}
// Wakes those who wait for any of `bits`, leaving `state` in their slots, and lets the lock
// go. Whoever waits longest is woken first: the list begins with the newest. What is to be
// submitted comes before `ready`, what has been collected already.
static inline crt_task *crt__sock_collect_unlock(crt__sock *s, uint64_t word, uint32_t bits, uint32_t state,
                                                 crt_task *ready)
{
    for (crt_slot *slot = s->waiters, *after; slot; slot = after) {
        after = slot->next;
        if (!(slot->extra & bits & CRT__WAIT_BITS)) continue;
        crt_task *task = slot->task;
        crt__sock_unlink(s, slot);
        crt__atomic_store(&slot->state, state, CRT__RELEASE);
        if (!crt__task_notify(task)) continue;
        task->next = ready;
        ready = task;
    }
    crt__sock_unlock_as(s, word);
    return ready;
}
static inline void crt__submit_chain(crt_task *ready)
{
    for (crt_task *task; (task = ready);) {
        ready = task->next;
        crt__submit(task);
    }
}
static inline void crt__sock_wake_unlock(crt__sock *s, uint64_t word, uint32_t bits, uint32_t state)
{
    crt__submit_chain(crt__sock_collect_unlock(s, word, bits, state, NULL));
}
// Counts an event of the record up. The word with what it brings; under the lock.
static inline uint64_t crt__sock_tick(crt__sock *s, uint64_t old, uint32_t ready)
{
    uint64_t tick = (crt__tick_of(old) + 1) & 0xffffff;
    old = crt__unspent(s, old) & 0xffffff000000ffff;
    crt__atomic_store(&s->spent, 0, CRT__RELAXED);
    return old | tick << 16 | ready;
}
// Something has become ready. False: the record has changed hands.
static bool crt__sock_event(crt_runtime *rt, uint64_t token, uint32_t ready)
{
    crt__sock *s = crt__sock_at(rt, (uint32_t)token);
    crt__sock_lock(s);
    uint64_t old = crt__sock_word(s);
    if (CRT__UNLIKELY(crt__generation_of(old) != token >> 32)) {
        crt__sock_unlock(s);
        return false;
    }
    crt__sock_wake_unlock(s, crt__sock_tick(s, old, ready), ready, CRT__WAIT_WOKEN);
    if (CRT__UNLIKELY(crt__atomic_load(&s->child, CRT__RELAXED))) crt__process_sweep();
    return true;
}
static inline void crt__io_expect(crt_runtime *rt, uint64_t token)
{
    if ((uint32_t)token < CRT__TOKENS) CRT__PREFETCH(crt__sock_at(rt, (uint32_t)token));
}
// Called by the reactor for each event.
static void crt__io_event(crt_runtime *rt, uint64_t token, uint32_t ready)
{
    if (crt__sock_event(rt, token, ready)) crt__count(&rt->io_ready, 1);
}
#ifndef CRT_NO_NET
// Nobody has a handle any more: the record becomes free, the descriptor is closed
// or (keep) belongs to the caller again.
static void crt__sock_retire(crt__sock *s, bool keep)
{
    crt_runtime *rt = s->rt;
    bool soft = crt__sock_is_soft(s);
    if (soft) {
        s->u.soft->ops->close(s);
    } else {
        crt__reactor_remove(rt->reactor, s->fd, crt__sock_token(s));
        crt__atomic_add(&rt->fd_deregistered, 1, CRT__RELAXED);
    }
    crt__ready_reset(s);
    if (!keep && !soft) crt__fd_close(s->fd);
    crt__sock_lock(s);
    crt__sock_wake_unlock(s, crt__sock_word(s), ~0u, CRT__WAIT_CLOSED);
    crt__sock_release(s);
}
static inline void crt__sock_unref(crt__sock *s)
{
    if (CRT__UNLIKELY(crt__atomic_sub(&s->refs, 1, CRT__ACQ_REL) == 1)) crt__sock_retire(s, false);
}
// A reference for who has none, if there is still a handle: what has no references stays without, so this one is
// never given to a record that is free, or about to be. It may be another's by now: see crt__io_hold_open.
static inline bool crt__sock_ref_live(crt__sock *s)
{
    uint32_t n = crt__atomic_load(&s->refs, CRT__RELAXED);
    while (n)   // acquire: what was attached before this reference, and whose generation that is
        if (crt__atomic_cas_weak(&s->refs, &n, n + 1, CRT__ACQUIRE, CRT__RELAXED)) return true;
    return false;
}
#endif
static CRT__COLD void crt__sock_shutdown_all(crt_runtime *rt)
{
    crt__lock(&rt->sock_lock);
    uint32_t count = rt->sock_count;
    crt__unlock(&rt->sock_lock);
    for (uint32_t i = 0; i < count; i++) {
        crt__sock *s = crt__sock_at(rt, i);
        crt__sock_lock(s);
        crt__sock_wake_unlock(s, crt__sock_word(s) | CRT__IO_SHUTDOWN, CRT__IO_SHUTDOWN, CRT__WAIT_WOKEN);
    }
}
#ifndef CRT_NO_NET
// Takes bits back that turned out untrue, unless an event came since `seen`.
static void crt__ready_clear(crt__sock *s, uint64_t seen, uint32_t bits)
{
    uint64_t now = crt__atomic_load(&s->ready, CRT__ACQUIRE);
    bits &= ~(uint32_t)CRT__IO_SHUTDOWN;   // that one stays
    while (now >> 16 == seen >> 16) {
        if (CRT__UNLIKELY(now & CRT__IO_LOCKED)) {   // an event under way, perhaps
            crt__sock_lock(s);
            crt__sock_unlock(s);
            now = crt__atomic_load(&s->ready, CRT__ACQUIRE);
        } else if (crt__atomic_cas_weak(&s->ready, &now, now & ~(uint64_t)bits, CRT__ACQ_REL, CRT__ACQUIRE)) {
            return;
        }
    }
}
// A read has found that the kernel has no more than it took; or, where urgent data has come,
// that it stopped before them: then there may be more, and no other event tells of it.
static inline void crt__ready_spend(crt__sock *s, uint64_t seen)
{
#ifdef CRT__URGENT_UNTOLD   // so it has to be assumed: the next read asks
    seen |= CRT__PRIORITY;
#endif
    if (CRT__UNLIKELY(seen & CRT__PRIORITY)) return;
    crt__atomic_store(&s->spent, (uint32_t)(seen >> 16) | CRT__SPENT, CRT__RELAXED);
}

// A task of another runtime than the record's holds a reference of that runtime from its
// first wait until the operation ends: the record, which it looks at when it goes on, may be
// closed meanwhile, also while the task is on its way, and have been the last that kept the
// runtime's memory. What the slot holds already it keeps.
static inline uint32_t crt__io_abroad(crt_cx *cx, crt__sock *s)
{
    if (CRT__LIKELY(s->rt == cx->rt)) return 0;
    if (cx->slot->op && (cx->slot->extra & CRT__WAIT_ABROAD)) return CRT__WAIT_ABROAD;
    crt__atomic_add(&s->rt->refs, 1, CRT__RELAXED);
    return CRT__WAIT_ABROAD;
}
static inline void crt__io_return(crt__sock *s, crt_slot *slot)
{
    if (CRT__LIKELY(!(slot->extra & CRT__WAIT_ABROAD))) return;
    slot->extra &= ~CRT__WAIT_ABROAD;
    crt__rt_unref(s->rt);
}
// The operation ends; where it came from abroad, the record is not to be touched any more.
static inline void crt__io_end(crt__sock *s, crt_slot *slot)
{
    if (!slot->op) return;
    slot->op = NULL;
    crt__io_return(s, slot);
}
static void crt__io_cancel(crt_slot *slot)
{
    crt__sock *s = slot->object;
    crt__sock_lock(s);
    if (slot->state == CRT__WAIT_QUEUED) crt__sock_unlink(s, slot);
    crt__sock_unlock(s);
    slot->state = 0;
    crt__io_return(s, slot);
}
static const crt__op crt__op_read = {"read", crt__io_cancel};
static const crt__op crt__op_write = {"write", crt__io_cancel};
static const crt__op crt__op_accept = {"accept", crt__io_cancel};
static const crt__op crt__op_read_exact = {"read_exact", crt__io_cancel};
static const crt__op crt__op_write_all = {"write_all", crt__io_cancel};
static const crt__op crt__op_peek = {"peek", crt__io_cancel};
static const crt__op crt__op_readv = {"readv", crt__io_cancel};
static const crt__op crt__op_writev = {"writev", crt__io_cancel};
static const crt__op crt__op_writev_all = {"writev_all", crt__io_cancel};
static const crt__op crt__op_readable = {"readable", crt__io_cancel};
static const crt__op crt__op_writable = {"writable", crt__io_cancel};

static uint32_t crt__sock_generation(crt__sock *s)
{
    return (uint32_t)crt__generation_of(crt__atomic_load(&s->ready, CRT__ACQUIRE)) & CRT__GENERATION;
}
static uint32_t crt__wait_generation(const crt_slot *slot) { return slot->extra >> 8 & CRT__GENERATION; }
// The operation has begun but waits for something else than readiness (its budget, a pause).
// Whose record it is counts from its first wait on: it may have been closed in this very poll.
static void crt__io_hold(crt_cx *cx, crt__sock *s, const crt__op *op, uint64_t value)
{
    crt_slot *slot = cx->slot;
    uint32_t abroad = crt__io_abroad(cx, s);
    uint32_t generation = slot->op ? crt__wait_generation(slot) : crt__sock_generation(s);
    crt__slot_park(cx, slot, op, s);
    slot->state = 0;
    slot->extra = generation << 8 | abroad;
    slot->value = value;
}
// Asks a reactor that has to be asked each time. What it tells may come before the task
// is in the list, which then sees it there.
#ifdef _WIN32
static void crt__io_want(crt__sock *s, uint32_t bits)
{
    uint64_t ready = crt__ready_now(s);
    uint64_t token = crt__generation_of(ready) << 32 | s->index;
    if ((ready & bits) || crt__reactor_want(s->rt->reactor, token, bits)) return;
    (void)crt__sock_event(s->rt, token, CRT__IO_ERROR);   // the operation will say what it is
}
#else
#define crt__io_want(s, bits) ((void)0)
#endif
// Parks until one of `bits` is set. 0: one is set now. CRT_ECLOSED: the record has
// changed hands since the operation began to wait.
static crt_poll crt__io_park(crt_cx *cx, crt__sock *s, const crt__op *op, uint32_t bits)
{
    crt_slot *slot = cx->slot;
    crt__io_want(s, bits);
    crt__sock_lock(s);
    uint64_t ready = crt__unspent(s, crt__atomic_load(&s->ready, CRT__RELAXED));
    uint32_t generation = (uint32_t)crt__generation_of(ready) & CRT__GENERATION;
    if (CRT__UNLIKELY(slot->op && crt__wait_generation(slot) != generation)) {
        crt__sock_unlock(s);
        crt__io_end(s, slot);
        return CRT_ECLOSED;
    }
    if (CRT__UNLIKELY(ready & bits)) {
        crt__sock_unlock(s);
        return 0;
    }
    crt_slot *first = s->waiters;
    uint32_t abroad = crt__io_abroad(cx, s);
    crt__slot_park(cx, slot, op, s);
    slot->state = CRT__WAIT_QUEUED;
    slot->extra = bits | generation << 8 | abroad;
    slot->next = first;
    if (CRT__UNLIKELY(first != NULL)) first->prev = slot;
    s->waiters = slot;
    crt__coop_return(cx);
    crt__sock_unlock_as(s, ready);   // without what is spent
    return CRT_PENDING;
}
// Goes on after a wait: 0 to try again, or CRT_PENDING, CRT_ECLOSED. The slot
// keeps its progress.
static crt_poll crt__io_resume(crt_cx *cx)
{
    crt_slot *slot = cx->slot;
    crt__sock *s = slot->object;
    uint32_t state = crt__atomic_load(&slot->state, CRT__ACQUIRE);
    if (state == CRT__WAIT_QUEUED) return CRT_PENDING;
    if (state != 0) {
        if (CRT__UNLIKELY(crt__atomic_load(&s->ready, CRT__ACQUIRE) & CRT__IO_LOCKED)) {
            crt__sock_lock(s);   // the waker is done with the slot when this has passed
            crt__sock_unlock(s);
        }
        slot->state = 0;
    }
    // Closed while it waited, or since it was woken: the record may be another's now.
    bool closed = state == CRT__WAIT_CLOSED || crt__wait_generation(slot) != crt__sock_generation(s);
    if (!closed) return crt__coop(cx) ? 0 : CRT_PENDING;
    crt__io_end(s, slot);
    return CRT_ECLOSED;
}
// A handle of the call's own, while it goes on after a wait: closed by another thread between
// the look at its generation and the system call, the number of the descriptor would be
// somebody else's; what a stream without one is made of would be freed. Without a wait there
// is no such handle: who closes under a call that may be about to begin closes too early.
// False: closed; the operation has ended.
static bool crt__io_hold_open(crt_cx *cx, crt__sock *s)
{
    crt_slot *slot = cx->slot;
    bool held = crt__sock_ref_live(s);
    if (CRT__LIKELY(held && crt__wait_generation(slot) == crt__sock_generation(s))) return true;
    if (held) crt__sock_unref(s);   // another's
    crt__io_end(s, slot);
    return false;
}
// --- a pause: nothing tells when there is room again, so the operation looks after a while.
// It is held as above, and a timer of its own (slot.next) wakes its task.

static void crt__io_pause_over(crt_slot *slot)
{
    crt_slot *timer = slot->next;
    slot->next = NULL;
    crt__slot_cancel(timer);
    CRT_FREE(timer);
}
static void crt__io_pause_cancel(crt_slot *slot)
{
    crt__io_pause_over(slot);
    crt__io_return(slot->object, slot);
}
// CRT_PENDING; 0: it is over already; CRT_ENOMEM.
static CRT__COLD crt_poll crt__io_pause(crt_cx *cx, crt__sock *s, const crt__op *op, crt_instant now,
                                        crt_duration d, uint64_t value)
{
    crt_slot *timer = CRT_MALLOC(sizeof *timer);
    if (!timer) return CRT_ENOMEM;
    memset(timer, 0, sizeof *timer);
    if (!crt__timer_start(cx, timer, crt__instant_after(now, d), now)) {
        CRT_FREE(timer);
        return 0;
    }
    crt__io_hold(cx, s, op, value);
    cx->slot->next = timer;
    return CRT_PENDING;
}
// False: it goes on. Else the slot is held for `op`, as if it had waited for its budget.
static bool crt__io_pause_ended(crt_slot *slot, const crt__op *op)
{
    if (crt__atomic_load(&slot->next->state, CRT__ACQUIRE) != CRT__TIMER_FIRED) return false;
    crt__io_pause_over(slot);
    slot->op = op;
    return true;
}
static CRT__COLD crt_poll crt__no_driver(crt_cx *cx, const char *what)
{
    crt__say(cx->rt, CRT_LOG_ERROR, "%s needs CRT_DRIVER_IO in crt_config.drivers; this runtime has none", what);
    return crt__refuse(cx, CRT_ENODRIVER);
}
// What is only read, for an argument that may also be written to.
static inline void *crt__unconst(const void *p) { return (void *)(uintptr_t)p; }

// How a transfer moves its bytes: towards us unless OUT; PIECES: buf is an array
// of n crt_iovec.
enum { CRT__IN = 0, CRT__OUT = 1, CRT__PIECES = 2, CRT__PEEK = 4 };
enum { CRT__PIECES_MOST = 1024, CRT__PIECES_AT_ONCE = 32 };
_Static_assert(sizeof(crt_iovec) == sizeof(crt__iovec) &&
                   offsetof(crt_iovec, base) == offsetof(crt__iovec, iov_base) &&
                   offsetof(crt_iovec, len) == offsetof(crt__iovec, iov_len),
               "crt_iovec is the system's struct iovec");

// The bytes of all pieces; SIZE_MAX if they are not acceptable.
static size_t crt__pieces_total(const crt_iovec *pieces, size_t count)
{
    size_t total = 0;
    if (count > CRT__PIECES_MOST) return SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].len > CRT__MOST_BYTES - total || (pieces[i].len && !pieces[i].base)) return SIZE_MAX;
        total += pieces[i].len;
    }
    return total;
}
// What is left of the pieces after `done` bytes, as far as it fits. How many.
static int crt__pieces_after(const crt_iovec *pieces, size_t count, size_t done, crt__iovec *left)
{
    int k = 0;
    for (size_t i = 0; i < count && k < CRT__PIECES_AT_ONCE; i++) {
        size_t skip = crt__min(done, pieces[i].len);
        done -= skip;
        if (skip == pieces[i].len) continue;
        left[k].iov_base = (char *)pieces[i].base + skip;
        left[k++].iov_len = pieces[i].len - skip;
    }
    return k;
}
// The system call for what is not a plain recv or send. *asked: bytes.
static CRT__COLD intptr_t crt__io_call_pieces(crt__sock *s, uint32_t how, void *buf, size_t n,
                                              size_t done, size_t *asked)
{
    crt__iovec some[CRT__PIECES_AT_ONCE];
    const crt__iovec *pieces = some;
    int count = 1;
    if (!(how & CRT__PIECES)) {
        some[0].iov_base = (char *)buf + done;
        some[0].iov_len = n - done;
    } else if (done) {
        count = crt__pieces_after(buf, n, done, some);
    } else {
        pieces = buf;
        count = (int)n;
    }
    *asked = 0;
    for (int i = 0; i < count; i++) *asked += pieces[i].iov_len;
    if (!(how & CRT__OUT)) return crt__fd_readv(s->fd, pieces, count);
    return s->flags & CRT__SOCK_FILE ? crt__fd_writev(s->fd, pieces, count) : crt__sock_sendv(s->fd, pieces, count);
}
static inline intptr_t crt__io_call(crt__sock *s, uint32_t how, void *buf, size_t n, size_t done, size_t *asked)
{
    char *at = (char *)buf + done;
    *asked = n - done;
    if (CRT__UNLIKELY(how & CRT__PEEK)) return crt__sock_peek(s->fd, at, *asked);
    if (CRT__UNLIKELY((how & CRT__PIECES) || (s->flags & CRT__SOCK_FILE)))
        return crt__io_call_pieces(s, how, buf, n, done, asked);
    return how & CRT__OUT ? crt__sock_send(s->fd, at, *asked) : crt__sock_recv(s->fd, at, *asked);
}
// crt__io_try for a stream without a descriptor. What it holds can be had also when
// the runtime that made it is gone. Pieces are taken one by one, where that loses
// nothing, and the first alone elsewhere.
static crt_poll crt__soft_try(crt__sock *s, uint64_t seen, uint32_t how, void *buf, size_t n, size_t done)
{
    const crt__soft_ops *ops = s->u.soft->ops;
    uint32_t bits = how & CRT__OUT ? CRT__WRITABLE : CRT__READABLE;
    crt__iovec some[CRT__PIECES_AT_ONCE];
    int count = 1;
    some[0].iov_base = (char *)buf + done;
    some[0].iov_len = n - done;
    if (how & CRT__PIECES) count = crt__pieces_after(buf, n, done, some);
    else if (n == done) count = 0;
    crt_poll k = 0, r = 0;
    bool more = true;
#ifdef _WIN32   // only its pipes have that
    if (count > 1 && ops->several) {
        r = ops->several(s, (how & CRT__OUT) != 0, (const crt_iovec *)(const void *)some, count);
        count = 0;
    }
#endif
    for (int i = 0; i < count && more; i++) {
        size_t len = some[i].iov_len;
        r = how & CRT__OUT ? ops->send(s, some[i].iov_base, len)
                           : ops->recv(s, some[i].iov_base, len, (how & CRT__PEEK) != 0);
        if (r > 0) k += r;
        more = r == (crt_poll)len && ops->pieces;
    }
    if (k == 0) k = r;
    if (k == CRT_EAGAIN) {
        if (seen & CRT__IO_SHUTDOWN) return CRT_ESHUTDOWN;
        bits |= (how & CRT__OUT ? CRT__WRITE_CLOSED : CRT__READ_CLOSED) | CRT__IO_ERROR;
        crt__ready_clear(s, seen, bits);
    } else if (k > 0 && !more && ops->pieces && !(how & CRT__PEEK)) {
        crt__ready_clear(s, seen, bits);
    }
    return k;
}
// What a call's result k, of `asked` bytes, says about readiness, as it was `seen` before
// the call. A short transfer means that the kernel has no more: the next try would only be
// told EAGAIN, so that call is saved. CRT_EAGAIN: no, or (interrupted) not yet.
static crt_poll crt__io_settle(crt__sock *s, uint32_t how, uint64_t seen, intptr_t k, size_t asked)
{
    uint32_t bit = how & CRT__OUT ? CRT__WRITABLE : CRT__READABLE;
    if (CRT__LIKELY(k >= 0)) {
        if (k > 0 && (size_t)k < asked && !(how & CRT__PEEK) && !(s->flags & CRT__SOCK_WHOLE)) {
            if (how & CRT__OUT) crt__ready_clear(s, seen, bit);
            else crt__ready_spend(s, seen);
        }
        return k;
    }
    if (errno == EINTR) return CRT_EAGAIN;
    if (!crt__would_block(errno)) return -errno;
    uint32_t sticky = how & CRT__OUT ? CRT__WRITE_CLOSED : CRT__READ_CLOSED;
    crt__ready_clear(s, seen, bit | sticky | CRT__IO_ERROR);
    return CRT_EAGAIN;
}
// Tries once. CRT_EAGAIN: no.
static crt_poll crt__io_try(crt__sock *s, uint32_t how, void *buf, size_t n, size_t done)
{
    uint64_t seen = crt__atomic_load(&s->ready, CRT__ACQUIRE);
    if (CRT__UNLIKELY(seen & (CRT__IO_SHUTDOWN | CRT__IO_SOFT)))
        return seen & CRT__IO_SOFT ? crt__soft_try(s, seen, how, buf, n, done) : CRT_ESHUTDOWN;
    size_t asked;
    intptr_t k;
    do k = crt__io_call(s, how, buf, n, done, &asked);
    while (CRT__UNLIKELY(k < 0 && errno == EINTR));
    return crt__io_settle(s, how, seen, k, asked);
}
// crt_close(&shared) sets the pointer to NULL under the task that waits through
// it: then the wait goes on, to hear that it is closed.
static crt__sock *crt__sock_of(crt_slot *slot, const crt__op *op, crt__sock *s)
{
    return !s && slot->op == op ? slot->object : s;
}
// Goes on with a transfer of `total` bytes after a try that gave r, until it is done, or
// waits.
static crt_poll crt__io_go_on(crt_cx *cx, crt__sock *s, const crt__op *op, uint32_t how, void *buf,
                              size_t n, size_t total, size_t done, bool all, crt_poll r)
{
    crt_slot *slot = cx->slot;
    uint32_t bits = how & CRT__OUT ? CRT__FOR_WRITE : CRT__FOR_READ;
    for (;;) {
        if (r != CRT_EAGAIN) {
            bool end = r == 0 && !(how & CRT__OUT);
            if (r > 0 && all) done += (size_t)r;
            if (r < 0 || end || !all || done == total) {
                crt__io_end(s, slot);
                if (r < 0 || !all) return r;
                return end ? CRT_EEOF : (crt_poll)total;
            }
        }
        if (CRT__LIKELY(crt__ready_now(s) & bits)) {
            r = crt__io_try(s, how, buf, n, done);
        } else {
            r = crt__io_park(cx, s, op, bits);
            slot->value = (uint64_t)n << 32 | done;
            if (r != 0) return r;
            r = CRT_EAGAIN;
        }
    }
}
// Reads or writes when ready: up to n bytes, or (all) exactly n. Both n and the
// progress are kept in the slot: in `n = crt_write_all(cx, s, buf, n)`, the idiom
// of an echo, the second poll is handed CRT_PENDING for n.
static CRT__OUTLINE crt_poll crt__io_transfer(crt_cx *cx, crt__sock *s, const crt__op *op, uint32_t how,
                                               void *buf, size_t n, bool all)
{
    crt_slot *slot = cx->slot;
    crt_poll r;
    s = crt__sock_of(slot, op, s);
    if (!crt__leaf(cx, op, s)) return CRT_UNWIND;
    if (CRT__UNLIKELY(!s || (n && !buf))) return crt__slot_cancel(slot), crt__refuse(cx, CRT_EINVAL);
    size_t done = 0;
    if (slot->op) {
        if ((r = crt__io_resume(cx)) != 0) return r;
        done = (size_t)(slot->value & UINT32_MAX);
        n = (size_t)(slot->value >> 32);
    } else if (CRT__UNLIKELY(n > CRT__MOST_BYTES)) {
        return crt__refuse(cx, CRT_EINVAL);
    }
    size_t total = n;
    if (CRT__UNLIKELY(how & CRT__PIECES)) {
        if ((total = crt__pieces_total(buf, n)) == SIZE_MAX)
            return crt__io_end(s, slot), crt__refuse(cx, CRT_EINVAL);
    }
    if (!total) all = true;   // nothing asked for is had at once
    if (!slot->op && !crt__coop(cx)) {
        crt__io_hold(cx, s, op, (uint64_t)n << 32);
        return CRT_PENDING;
    }
    if (done == total) return crt__io_end(s, slot), (crt_poll)total;   // `all`, then: others have done nothing yet
    bool held = slot->op != NULL;
    if (held && !crt__io_hold_open(cx, s)) return CRT_ECLOSED;
    r = crt__io_go_on(cx, s, op, how, buf, n, total, done, all, CRT_EAGAIN);
    if (held) crt__sock_unref(s);
    return r;
}
// A transfer to or from one buffer. The common cases are seen to here, in few
// instructions, everything else by the general function above: a plain socket that is
// ready, or clearly is not; budget left, no cancellation; a first poll, or one after the
// wake-up of this very operation.
static CRT__INLINE crt_poll crt__io_plain(crt_cx *cx, crt_stream *stream, const crt__op *op, uint32_t how,
                                          void *buf, size_t n, bool all)
{
    crt__sock *s = (crt__sock *)stream;
    crt_slot *slot = cx->slot;
    const uint32_t bit = how & CRT__OUT ? CRT__WRITABLE : CRT__READABLE;
    const uint32_t bits = how & CRT__OUT ? CRT__FOR_WRITE : CRT__FOR_READ;
    uint64_t seen;
    size_t done = 0, asked;
    intptr_t k;
    crt_poll r;
    bool held;   // after a wait, which is what slot->op tells until the end: see crt__io_hold_open
    if (CRT__UNLIKELY(!s || !buf || !n || n > CRT__MOST_BYTES)) goto general;
    crt__check_operand(cx, op->name, buf, n, how & CRT__OUT ? CRT__BYTES_GIVEN : CRT__NONE_GIVEN, all);
    if (CRT__UNLIKELY(cx->unwind || cx->unconstrained || !cx->budget)) goto general;
    if (slot->op) {
        if (CRT__UNLIKELY(slot->op != op || slot->object != s)) goto general;
        if (CRT__UNLIKELY(crt__atomic_load(&slot->state, CRT__ACQUIRE) != CRT__WAIT_WOKEN)) goto general;
        if (CRT__UNLIKELY(!crt__sock_ref_live(s))) goto general;
    }
    seen = how & CRT__OUT ? crt__atomic_load(&s->ready, CRT__ACQUIRE) : crt__ready_now(s);
    if (slot->op) {
        if (CRT__UNLIKELY(slot->extra >> 8 != (uint32_t)(crt__generation_of(seen) & CRT__GENERATION))) goto let_go;
        n = (size_t)(slot->value >> 32);   // as it was asked for at first
        if (all) done = (size_t)(slot->value & UINT32_MAX);
    } else if (!(seen & (bits | CRT__IO_SOFT))) {
        cx->budget--;   // which parking gives back
        slot->value = (uint64_t)n << 32;
        r = crt__io_park(cx, s, op, bits);
        return r ? r : crt__io_go_on(cx, s, op, how, buf, n, n, 0, all, CRT_EAGAIN);
    }
    if (CRT__UNLIKELY((seen & (bit | CRT__IO_SHUTDOWN | CRT__IO_SOFT | CRT__IO_LOCKED)) != bit)) goto let_go;
    if (CRT__UNLIKELY(s->flags & (CRT__SOCK_FILE | CRT__SOCK_WHOLE))) goto let_go;
    cx->budget--;
    slot->state = 0;
    asked = n - done;
    if (how & CRT__OUT) k = crt__sock_send(s->fd, (char *)buf + done, asked);
    else k = crt__sock_recv(s->fd, (char *)buf + done, asked);
    held = slot->op != NULL;
    if (CRT__LIKELY(all ? k == (intptr_t)asked : k > 0)) {
        slot->op = NULL;
        if ((size_t)k < asked) {
            if (how & CRT__OUT) crt__ready_clear(s, seen, bit);
            else crt__ready_spend(s, seen);
        }
        r = all ? (crt_poll)n : k;
    } else {
        r = crt__io_go_on(cx, s, op, how, buf, n, n, done, all, crt__io_settle(s, how, seen, k, asked));
    }
    if (held) crt__sock_unref(s);
    return r;
let_go:
    if (slot->op) crt__sock_unref(s);
general:
    return crt__io_transfer(cx, s, op, how, buf, n, all);
}
CRTDEF crt_poll crt_read(crt_cx *cx, crt_stream *s, void *buf, size_t n)
{
    return crt__io_plain(cx, s, &crt__op_read, CRT__IN, buf, n, false);
}
CRTDEF crt_poll crt_read_exact(crt_cx *cx, crt_stream *s, void *buf, size_t n)
{
    return crt__io_plain(cx, s, &crt__op_read_exact, CRT__IN, buf, n, true);
}
CRTDEF crt_poll crt_write(crt_cx *cx, crt_stream *s, const void *buf, size_t n)
{
    return crt__io_plain(cx, s, &crt__op_write, CRT__OUT, crt__unconst(buf), n, false);
}
CRTDEF crt_poll crt_write_all(crt_cx *cx, crt_stream *s, const void *buf, size_t n)
{
    return crt__io_plain(cx, s, &crt__op_write_all, CRT__OUT, crt__unconst(buf), n, true);
}
CRTDEF crt_poll crt_peek(crt_cx *cx, crt_stream *s, void *buf, size_t n)
{
    bool file = s && !cx->slot->op && (((crt__sock *)s)->flags & CRT__SOCK_FILE);
    if (file) return crt__refuse(cx, -ENOTSOCK);   // at once, not when there is something to read
    return crt__io_transfer(cx, (crt__sock *)s, &crt__op_peek, CRT__PEEK, buf, n, false);
}
CRTDEF crt_poll crt_readv(crt_cx *cx, crt_stream *s, const crt_iovec *pieces, size_t count)
{
    return crt__io_transfer(cx, (crt__sock *)s, &crt__op_readv, CRT__PIECES, crt__unconst(pieces), count, false);
}
CRTDEF crt_poll crt_writev(crt_cx *cx, crt_stream *s, const crt_iovec *pieces, size_t count)
{
    void *v = crt__unconst(pieces);
    return crt__io_transfer(cx, (crt__sock *)s, &crt__op_writev, CRT__PIECES | CRT__OUT, v, count, false);
}
CRTDEF crt_poll crt_writev_all(crt_cx *cx, crt_stream *s, const crt_iovec *pieces, size_t count)
{
    void *v = crt__unconst(pieces);
    return crt__io_transfer(cx, (crt__sock *)s, &crt__op_writev_all, CRT__PIECES | CRT__OUT, v, count, true);
}
static crt_poll crt__io_ready(crt_cx *cx, crt__sock *s, const crt__op *op, uint32_t bits)
{
    crt_slot *slot = cx->slot;
    crt_poll r;
    s = crt__sock_of(slot, op, s);
    if (!crt__leaf(cx, op, s)) return CRT_UNWIND;
    if (!s) return crt__refuse(cx, CRT_EINVAL);
    if (slot->op) {
        if ((r = crt__io_resume(cx)) != 0) return r;
    } else if (!crt__coop(cx)) {
        crt__io_hold(cx, s, op, 0);
        return CRT_PENDING;
    }
    if (!(crt__ready_now(s) & bits) &&
        (r = crt__io_park(cx, s, op, bits)) != 0)
        return r;
    uint32_t gone = crt__atomic_load(&s->ready, CRT__ACQUIRE) & (CRT__IO_SHUTDOWN | CRT__IO_SOFT);
    crt__io_end(s, slot);
    return gone == CRT__IO_SHUTDOWN ? CRT_ESHUTDOWN : 0;
}
CRTDEF crt_poll crt_readable(crt_cx *cx, crt_stream *s)
{
    return crt__io_ready(cx, (crt__sock *)s, &crt__op_readable, CRT__FOR_READ);
}
CRTDEF crt_poll crt_writable(crt_cx *cx, crt_stream *s)
{
    return crt__io_ready(cx, (crt__sock *)s, &crt__op_writable, CRT__FOR_WRITE);
}
static crt_poll crt__io_try_now(crt_stream *s, uint32_t how, void *buf, size_t n)
{
    if (!s || (n && !buf) || n > CRT__MOST_BYTES) return CRT_EINVAL;
    size_t total = how & CRT__PIECES ? crt__pieces_total(buf, n) : n;
    if (total == SIZE_MAX) return CRT_EINVAL;
    if (!total) return 0;   // nothing asked for is had at once
    return crt__io_try((crt__sock *)s, how, buf, n, 0);
}
CRTDEF crt_poll crt_try_read(crt_stream *s, void *buf, size_t n)
{
    return crt__io_try_now(s, CRT__IN, buf, n);
}
CRTDEF crt_poll crt_try_write(crt_stream *s, const void *buf, size_t n)
{
    return crt__io_try_now(s, CRT__OUT, crt__unconst(buf), n);
}
CRTDEF crt_poll crt_try_peek(crt_stream *s, void *buf, size_t n)
{
    return crt__io_try_now(s, CRT__PEEK, buf, n);
}
CRTDEF crt_poll crt_try_readv(crt_stream *s, const crt_iovec *pieces, size_t count)
{
    return crt__io_try_now(s, CRT__PIECES, crt__unconst(pieces), count);
}
CRTDEF crt_poll crt_try_writev(crt_stream *s, const crt_iovec *pieces, size_t count)
{
    return crt__io_try_now(s, CRT__PIECES | CRT__OUT, crt__unconst(pieces), count);
}
#endif   // CRT_NO_NET

// ---------------------------------------------------------------------------
// >>net           addresses, TCP, names, pairs, foreign descriptors, datagrams
// ---------------------------------------------------------------------------
// Addresses are the system's own. A socket gets its options, is bound or connected, and then
// belongs to a record of >>io, by which it is waited for. Names are looked up as calls (>>calls).
// Invariant: until a descriptor of crt's is handed out, each failure and each cancelled wait closes it.

#ifndef CRT_NO_NET

// A decimal number from 0 to 65535 and nothing else; -1 otherwise.
static int crt__parse_port(const char *s)
{
    int port = 0;
    if (!*s) return -1;
    for (; *s; s++) {
        if (*s < '0' || *s > '9') return -1;
        port = port * 10 + (*s - '0');
        if (port > 65535) return -1;
    }
    return port;
}
static struct sockaddr *crt__sockaddr(crt_addr *a) { return (struct sockaddr *)(void *)a->u.bytes; }
static int crt__family(const crt_addr *a)
{
    return ((const struct sockaddr *)(const void *)a->u.bytes)->sa_family;
}
static const struct sockaddr_in *crt__in4(const crt_addr *a)
{
    return (const struct sockaddr_in *)(const void *)a->u.bytes;
}
static const struct sockaddr_in6 *crt__in6(const crt_addr *a)
{
    return (const struct sockaddr_in6 *)(const void *)a->u.bytes;
}
enum { CRT__UNIX_PATH = offsetof(struct sockaddr_un, sun_path) };
#ifdef __linux__
enum { CRT__UNIX_ABSTRACT = 1 };   // names that are no files, and begin with a NUL
#else
enum { CRT__UNIX_ABSTRACT = 0 };
#endif
// The name of a Unix socket, and its length. Systems differ in whether the length of the
// address counts the NUL, or what is behind it.
static size_t crt__unix_name(const crt_addr *a, const char **name)
{
    size_t k = a->len > CRT__UNIX_PATH ? crt__min(a->len, sizeof a->u.bytes) - CRT__UNIX_PATH : 0;
    *name = (const char *)a->u.bytes + CRT__UNIX_PATH;
    return k && CRT__UNIX_ABSTRACT && !**name ? k : strnlen(*name, k);
}

// A scope of IPv6, a number or the name of an interface. False: neither.
static bool crt__parse_scope(const char *s, uint32_t *scope)
{
    uint64_t n = 0;
    const char *at = s;
    for (; *at >= '0' && *at <= '9' && n <= UINT32_MAX; at++) n = n * 10 + (uint64_t)(*at - '0');
    *scope = *at ? crt__os_if_index(s) : (uint32_t)n;
    return *s && n <= UINT32_MAX && (!*at || *scope);
}
// `host` is "::1" or "fe80::1%eth0".
static CRT__COLD int crt__parse_ipv6(char *host, int port, crt_addr *a)
{
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)a->u.bytes;
    uint32_t scope = 0;
    char *percent = strchr(host, '%');
    if (percent) {
        *percent = 0;
        if (!crt__parse_scope(percent + 1, &scope)) return CRT_EINVAL;
    }
    if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1) return CRT_EINVAL;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons((uint16_t)port);
    in6->sin6_scope_id = scope;
    a->len = sizeof *in6;
    return 0;
}
static int crt__parse_ipv4(const char *host, int port, crt_addr *a)
{
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)a->u.bytes;
    // INADDR_ANY is all zero.
    if (strcmp(host, "*") && inet_pton(AF_INET, host, &in->sin_addr) != 1) return CRT_EINVAL;
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)port);
    a->len = sizeof *in;
    return 0;
}
CRTDEF int crt_addr_parse(const char *text, crt_addr *a)
{
    char host[80];
    if (!a) return CRT_EINVAL;
    memset(a, 0, sizeof *a);
    if (!text) return CRT_EINVAL;
    const char *colon = strrchr(text, ':');
    int port = colon ? crt__parse_port(colon + 1) : -1;
    if (port < 0) return CRT_EINVAL;
    bool six = text[0] == '[';
    size_t n = (size_t)(colon - text);
    if (six) {
        if (n < 2 || colon[-1] != ']') return CRT_EINVAL;
        text++;
        n -= 2;
    }
    if (n >= sizeof host) return CRT_EINVAL;
    memcpy(host, text, n);
    host[n] = 0;
    int e = six ? crt__parse_ipv6(host, port, a) : crt__parse_ipv4(host, port, a);
    if (e) memset(a, 0, sizeof *a);
    return e;
}
CRTDEF int crt_addr_unix(const char *path, crt_addr *a)
{
    if (!a) return CRT_EINVAL;
    struct sockaddr_un *un = (struct sockaddr_un *)(void *)a->u.bytes;
    memset(a, 0, sizeof *a);
    size_t n = path ? strlen(path) : 0;
    if (!n || n >= sizeof un->sun_path || !strcmp(path, "@")) return CRT_EINVAL;
    if (path[0] == '@' && !CRT__UNIX_ABSTRACT) return CRT_EINVAL;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, n);
    bool abstract = path[0] == '@';
    if (abstract) un->sun_path[0] = 0;
    a->len = (uint32_t)(CRT__UNIX_PATH + n + !abstract);
    return 0;
}
CRTDEF int crt_addr_port(const crt_addr *a)
{
    if (crt__family(a) == AF_INET) return ntohs(crt__in4(a)->sin_port);
    if (crt__family(a) == AF_INET6) return ntohs(crt__in6(a)->sin6_port);
    return 0;
}
CRTDEF bool crt_addr_is_ipv6(const crt_addr *a) { return crt__family(a) == AF_INET6; }
CRTDEF bool crt_addr_is_unix(const crt_addr *a) { return crt__family(a) == AF_UNIX; }
CRTDEF bool crt_addr_equal(const crt_addr *a, const crt_addr *b)
{
    if (crt__family(a) != crt__family(b) || crt_addr_port(a) != crt_addr_port(b)) return false;
    if (crt__family(a) == AF_INET) return crt__in4(a)->sin_addr.s_addr == crt__in4(b)->sin_addr.s_addr;
    if (crt__family(a) == AF_INET6)
        return crt__in6(a)->sin6_scope_id == crt__in6(b)->sin6_scope_id &&
               !memcmp(&crt__in6(a)->sin6_addr, &crt__in6(b)->sin6_addr, sizeof(struct in6_addr));
    if (crt__family(a) != AF_UNIX)
        return a->len == b->len && !memcmp(a->u.bytes, b->u.bytes, crt__min(a->len, sizeof a->u.bytes));
    const char *one, *other;
    size_t n = crt__unix_name(a, &one);
    return n == crt__unix_name(b, &other) && !memcmp(one, other, n);
}
CRTDEF int crt_addr_from_sockaddr(crt_addr *a, const void *sockaddr, size_t len)
{
    if (!a) return CRT_EINVAL;
    memset(a, 0, sizeof *a);
    if (!sockaddr || len > sizeof a->u.bytes || len < CRT__UNIX_PATH) return CRT_EINVAL;
    memcpy(a->u.bytes, sockaddr, len);
    a->len = (uint32_t)len;
    int family = crt__family(a);
    bool ok = family == AF_INET    ? len >= sizeof(struct sockaddr_in)
              : family == AF_INET6 ? len >= sizeof(struct sockaddr_in6)
              : family == AF_UNIX  ? len <= sizeof(struct sockaddr_un)
                                   : family != AF_UNSPEC;
    if (!ok) memset(a, 0, sizeof *a);
    return ok ? 0 : CRT_EINVAL;
}
CRTDEF const void *crt_addr_sockaddr(const crt_addr *a, size_t *len)
{
    if (len) *len = a->len;
    return a->u.bytes;
}
static CRT__COLD int crt__format_unix(const crt_addr *a, char *buf, size_t n)
{
    const char *path;
    size_t k = crt__unix_name(a, &path);
    if (!k) return snprintf(buf, n, "unnamed");
    if (n <= k) return CRT_EINVAL;
    for (size_t i = 0; i < k; i++) buf[i] = path[i] ? path[i] : '@';
    buf[k] = 0;
    return (int)k;
}
CRTDEF int crt_addr_format(const crt_addr *a, char *buf, size_t n)
{
    char host[64] = "", scope[16] = "";
    int k = CRT_EINVAL;
    if (!a || (n && !buf)) return CRT_EINVAL;
    if (crt__family(a) == AF_INET) {
        inet_ntop(AF_INET, &crt__in4(a)->sin_addr, host, sizeof host);
        k = snprintf(buf, n, "%s:%d", host, crt_addr_port(a));
    } else if (crt__family(a) == AF_INET6) {
        inet_ntop(AF_INET6, &crt__in6(a)->sin6_addr, host, sizeof host);
        if (crt__in6(a)->sin6_scope_id) snprintf(scope, sizeof scope, "%%%u", (unsigned)crt__in6(a)->sin6_scope_id);
        k = snprintf(buf, n, "[%s%s]:%d", host, scope, crt_addr_port(a));
    } else if (crt__family(a) == AF_UNIX) {
        k = crt__format_unix(a, buf, n);
    }
    return k < 0 || (size_t)k >= n ? CRT_EINVAL : k;
}

// --- options

static crt__fd crt__fd_of(const void *handle) { return handle ? ((const crt__sock *)handle)->fd : CRT_EINVAL; }
static CRT__OUTLINE int crt__set_option(crt__fd fd, int level, int name, int value)
{
    if (fd < 0) return CRT_EINVAL;
    return crt__os_setsockopt((int)fd, level, name, &value, sizeof value) ? -errno : 0;
}
static CRT__OUTLINE int crt__get_option(crt__fd fd, int level, int name)
{
    int value = 0;
    socklen_t n = sizeof value;
    if (fd < 0) return CRT_EINVAL;
    return crt__os_getsockopt((int)fd, level, name, &value, &n) ? -errno : value;
}
static CRT__OUTLINE int crt__take_error(crt__fd fd)
{
    int e = crt__get_option(fd, SOL_SOCKET, SO_ERROR);
    return e > 0 ? -e : e;
}
static CRT__OUTLINE int crt__fd_family(crt__fd fd)
{
    if (fd < 0) return CRT_EINVAL;
#ifdef _WIN32
    return crt__sock_family(fd);   // what is not bound yet has no name there
#else
    struct sockaddr_storage name;
    socklen_t n = sizeof name;
    return crt__os_getsockname((int)fd, (struct sockaddr *)&name, &n) ? -errno : name.ss_family;
#endif
}
// An option of IPv4 and its twin of IPv6. A socket of IPv6 gets both: its peer may be
// a mapped IPv4 address.
static CRT__OUTLINE int crt__set_ip_option(crt__fd fd, int name4, int name6, int value)
{
    int family = crt__fd_family(fd);
    if (family < 0) return family;
    if (family == AF_INET) return crt__set_option(fd, IPPROTO_IP, name4, value);
    if (family != AF_INET6) return -EOPNOTSUPP;
    (void)crt__set_option(fd, IPPROTO_IP, name4, value);
    return crt__set_option(fd, IPPROTO_IPV6, name6, value);
}
static CRT__OUTLINE int crt__get_ip_option(crt__fd fd, int name4, int name6)
{
    int family = crt__fd_family(fd);
    if (family < 0) return family;
    if (family == AF_INET) return crt__get_option(fd, IPPROTO_IP, name4);
    return family == AF_INET6 ? crt__get_option(fd, IPPROTO_IPV6, name6) : -EOPNOTSUPP;
}
// For IPv4 these two are a byte on all kinds of Unix, and on OpenBSD nothing else.
static CRT__OUTLINE int crt__set_multicast(crt__fd fd, int name4, int name6, int value)
{
#ifndef _WIN32
    unsigned char byte = (unsigned char)value;
    if (crt__fd_family(fd) == AF_INET)
        return crt__os_setsockopt((int)fd, IPPROTO_IP, name4, &byte, sizeof byte) ? -errno : 0;
#endif
    return crt__set_ip_option(fd, name4, name6, value);
}
static CRT__OUTLINE int crt__get_multicast(crt__fd fd, int name4, int name6)
{
#ifndef _WIN32
    unsigned char byte = 0;
    socklen_t n = sizeof byte;
    if (crt__fd_family(fd) == AF_INET)
        return crt__os_getsockopt((int)fd, IPPROTO_IP, name4, &byte, &n) ? -errno : byte;
#endif
    return crt__get_ip_option(fd, name4, name6);
}
static CRT__OUTLINE int crt__set_ttl(crt__fd fd, int ttl)
{
    return ttl < 1 || ttl > 255 ? CRT_EINVAL : crt__set_ip_option(fd, IP_TTL, IPV6_UNICAST_HOPS, ttl);
}
static CRT__OUTLINE int crt__set_tos(crt__fd fd, int tos)
{
    return tos < 0 || tos > 255 ? CRT_EINVAL : crt__set_ip_option(fd, IP_TOS, IPV6_TCLASS, tos);
}
static CRT__OUTLINE int crt__set_buffer(crt__fd fd, int name, int bytes)
{
    return bytes < 1 ? CRT_EINVAL : crt__set_option(fd, SOL_SOCKET, name, bytes);
}
#ifdef SO_LINGER_SEC   // macOS counts the other's time in ticks, of 10 ms, and these too have 15 bits inside
#define CRT__SO_LINGER SO_LINGER_SEC
#define CRT__LINGER_MOST 327
#else
#define CRT__SO_LINGER SO_LINGER
#define CRT__LINGER_MOST INT_MAX
#endif
static CRT__OUTLINE int crt__set_linger(crt__fd fd, int seconds)
{
#ifdef _WIN32
    struct linger l = {seconds >= 0, (unsigned short)crt__max(crt__min(seconds, 65535), 0)};
#else
    struct linger l = {seconds >= 0, crt__max(crt__min(seconds, CRT__LINGER_MOST), 0)};
#endif
    if (fd < 0) return CRT_EINVAL;
    return crt__os_setsockopt((int)fd, SOL_SOCKET, CRT__SO_LINGER, &l, sizeof l) ? -errno : 0;
}
#if defined(TCP_KEEPIDLE)
#define CRT__TCP_KEEPIDLE TCP_KEEPIDLE
#elif defined(TCP_KEEPALIVE)
#define CRT__TCP_KEEPIDLE TCP_KEEPALIVE
#else
#define CRT__TCP_KEEPIDLE (-1)   // OpenBSD has them for the whole system only: -ENOPROTOOPT
#endif
#ifdef TCP_KEEPINTVL
#define CRT__TCP_KEEPINTVL TCP_KEEPINTVL
#define CRT__TCP_KEEPCNT TCP_KEEPCNT
#else
#define CRT__TCP_KEEPINTVL (-1)
#define CRT__TCP_KEEPCNT (-1)
#endif
static CRT__OUTLINE int crt__set_keepalive(crt__fd fd, const crt_keepalive *k)
{
    if (!k || k->idle < 0 || k->interval < 0 || k->count < 0) return CRT_EINVAL;
    int e = 0;
    if (k->idle) e = crt__set_option(fd, IPPROTO_TCP, CRT__TCP_KEEPIDLE, k->idle);
    if (!e && k->interval) e = crt__set_option(fd, IPPROTO_TCP, CRT__TCP_KEEPINTVL, k->interval);
    if (!e && k->count) e = crt__set_option(fd, IPPROTO_TCP, CRT__TCP_KEEPCNT, k->count);
    return e ? e : crt__set_option(fd, SOL_SOCKET, SO_KEEPALIVE, k->on);
}

// An address that was in use a moment ago may be bound. That is so on Windows anyway for
// streams, and its option of that name would let two programs listen on one port.
static int crt__sock_reuse(crt__fd fd)
{
#ifdef _WIN32
    if (crt__get_option(fd, SOL_SOCKET, SO_TYPE) == SOCK_STREAM) return 0;
#endif
    return crt__set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
}

// What the descs have in common, in the order of the calls. 0: leave it alone.
typedef struct crt__options {
    bool reuseaddr, reuseport, v6only, broadcast;
    int send_buffer, recv_buffer, ttl, tos;
    unsigned mode;   // of the file that a Unix socket will have
} crt__options;
static CRT__OUTLINE bool crt__options_bad(const crt__options *o)
{
    return o->send_buffer < 0 || o->recv_buffer < 0 || o->ttl < 0 || o->ttl > 255 || o->tos < 0 || o->tos > 255;
}
static CRT__COLD int crt__options_set(crt__fd fd, int family, const crt__options *o)
{
    int e = 0;
    if (o->send_buffer) e = crt__set_buffer(fd, SO_SNDBUF, o->send_buffer);
    if (!e && o->recv_buffer) e = crt__set_buffer(fd, SO_RCVBUF, o->recv_buffer);
#ifndef _WIN32
    if (!e && family == AF_UNIX && o->mode) (void)fchmod((int)fd, (mode_t)o->mode);
#endif
    if (e || family == AF_UNIX) return e;
    if (o->reuseaddr) e = crt__sock_reuse(fd);
#ifdef SO_REUSEPORT
    if (!e && o->reuseport) e = crt__set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
#else
    if (!e && o->reuseport) e = -ENOPROTOOPT;
#endif
    if (!e && o->v6only) e = crt__set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    // Off is the promise, whatever the system's default is; where it cannot be, it cannot.
    else if (!e && family == AF_INET6) (void)crt__set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (!e && o->broadcast) e = crt__set_option(fd, SOL_SOCKET, SO_BROADCAST, 1);
    if (!e && o->ttl) e = crt__set_ttl(fd, o->ttl);
    if (!e && o->tos) e = crt__set_tos(fd, o->tos);
    return e;
}

// --- listening

// A socket with its options, bound to `a`. The descriptor or an error.
static CRT__COLD int crt__socket_bound(int type, crt_addr *a, const crt__options *o)
{
    int fd = crt__socket(crt__family(a), type);
    if (fd < 0) return fd;
    int e = crt__options_set(fd, crt__family(a), o);
    if (!e && crt__os_bind(fd, crt__sockaddr(a), (socklen_t)a->len)) e = -errno;
    if (!e) return fd;
    crt__fd_close(fd);
    return e;
}
#ifndef _WIN32
static bool crt__is_socket_file(const char *path)
{
    struct stat st;
    return !lstat(path, &st) && S_ISSOCK(st.st_mode);
}
#endif
// Is `path` a socket file whose socket is gone? Asking a server that lives costs it
// one connection that ends at once. With kqueue one whose backlog is full says the same.
static bool crt__unix_is_stale(int type, const char *path, crt_addr *a)
{
    if (!crt__is_socket_file(path)) return false;
    int fd = crt__socket(AF_UNIX, type);
    if (fd < 0) return false;
    int e = crt__os_connect(fd, crt__sockaddr(a), (socklen_t)a->len) ? errno : 0;
#ifdef _WIN32   // may take its time
    if (e == EINPROGRESS && !crt__afd_wait(crt__afd_base((SOCKET)fd), CRT__AFD_SEND | CRT__AFD_CONNECT_FAIL))
        e = -crt__take_error(fd);
#endif
    crt__fd_close(fd);
    return e == ECONNREFUSED;
}
// Held from the look at a path until somebody listens there: one that is bound only looks like
// one that is stale, and two that find the same one stale would remove each other's. It is
// held over system calls, as no other is that anybody waits for; for names that are no files nobody takes it.
static uint32_t crt__unix_paths_lock;
static bool crt__unix_path_begin(const char *path)
{
    bool file = path && path[0] != '@';
    if (file) crt__lock(&crt__unix_paths_lock);
    return file;
}
static void crt__unix_path_end(bool begun)
{
    if (begun) crt__unlock(&crt__unix_paths_lock);
}
// What was bound comes to nothing: its file must not stand in the way of the next.
static CRT__COLD void crt__unix_unbind(const char *path)
{
    if (path[0] != '@') (void)crt__os_unlink(path);
}
// The same for a Unix socket and the file that goes with it. The file begins with no
// more permissions than wanted (Linux takes them from the socket, less the umask), and
// then gets those of the umask too.
static CRT__COLD int crt__unix_bound(int type, const char *path, const crt__options *o, bool unlink_stale)
{
    crt_addr a;
    if (crt_addr_unix(path, &a) || o->mode > 07777) return CRT_EINVAL;
    if (path[0] == '@') return crt__socket_bound(type, &a, o);
    if (unlink_stale && crt__unix_is_stale(type, path, &a)) (void)crt__os_unlink(path);
    int fd = crt__socket_bound(type, &a, o);
#ifdef _WIN32
    errno = ENOTSUP;   // the files of sockets have no modes here
    if (fd < 0 || !o->mode) return fd;
#else
    if (fd < 0 || !o->mode || !chmod(path, (mode_t)o->mode)) return fd;
#endif
    int e = -errno;
    crt__fd_close(fd);
    crt__unix_unbind(path);
    return e;
}
static CRT__COLD int crt__listen(crt_cx *cx, int fd, int backlog, uint32_t flags, crt_listener **l)
{
    crt__sock *s;
    if (fd < 0) return fd;
    if (crt__os_listen(fd, backlog ? backlog : 1024)) {
        int e = -errno;
        crt__fd_close(fd);
        return e;
    }
    int e = crt__sock_new(cx->rt, fd, CRT__READABLE, &s);
    if (e) return e;
    s->flags = flags;
    *l = (crt_listener *)s;
    return 0;
}
static CRT__OUTLINE crt__options crt__listen_options(const crt_listen_desc *d)
{
    crt__options o = {!d->no_reuseaddr, d->reuseport, d->v6only, false,  d->send_buffer,
                      d->recv_buffer,   d->ttl,       d->tos,    d->mode};
    return o;
}
static const crt_listen_desc crt__listen_defaults;

enum { CRT__RESOLVE_MOST = 16 };   // addresses of one name

CRTDEF crt_poll crt_tcp_listen(crt_cx *cx, const char *addr, const crt_listen_desc *desc, crt_listener **l)
{
    crt_addr a[CRT__RESOLVE_MOST];
    if (!l) return crt__refuse(cx, CRT_EINVAL);
    *l = NULL;
    if (!desc) desc = &crt__listen_defaults;
    crt__options o = crt__listen_options(desc);
    if (!cx->rt->reactor) return crt__no_driver(cx, "crt_tcp_listen");
    if (desc->backlog < 0 || crt__options_bad(&o)) return crt__refuse(cx, CRT_EINVAL);
    crt_poll n = crt_resolve(cx, addr, a, CRT__RESOLVE_MOST), e = n;
    for (crt_poll i = 0; i < n && (i == 0 || e); i++) {   // the first that can be had
        int fd = crt__socket_bound(SOCK_STREAM, &a[i], &o);
        e = crt__listen(cx, fd, desc->backlog, desc->no_nodelay ? 0 : CRT__SOCK_NODELAY, l);
    }
    return e;
}
CRTDEF crt_poll crt_unix_listen(crt_cx *cx, const char *path, const crt_listen_desc *desc, crt_listener **l)
{
    if (!l) return crt__refuse(cx, CRT_EINVAL);
    *l = NULL;
    crt_poll r = crt_consume_budget(cx);
    if (r) return r;
    if (!desc) desc = &crt__listen_defaults;
    crt__options o = crt__listen_options(desc);
    if (!cx->rt->reactor) return crt__no_driver(cx, "crt_unix_listen");
    if (desc->backlog < 0 || crt__options_bad(&o)) return CRT_EINVAL;
    bool begun = crt__unix_path_begin(path);
    int fd = crt__unix_bound(SOCK_STREAM, path, &o, desc->unlink_stale);
    int e = crt__listen(cx, fd, desc->backlog, CRT__SOCK_WHOLE, l);
    if (e && fd >= 0) crt__unix_unbind(path);
    crt__unix_path_end(begun);
    return e;
}

// Out of descriptors or memory: accepting again at once would fail again, and an
// edge-triggered reactor would not tell when it no longer does. So wait a little.
static bool crt__accept_must_pause(int e)
{
    return e == EMFILE || e == ENFILE || e == ENOBUFS;
}
static const crt__op crt__op_accept_pause = {"accept (out of descriptors)", crt__io_pause_cancel};

// Whether to say so: once a second for each listener. `generation`: whose record it was at
// this poll; one that was closed meanwhile has something else in that place.
static CRT__COLD bool crt__accept_complains(crt__sock *s, uint32_t generation, crt_instant now)
{
    crt__sock_lock(s);
    bool ours = crt__sock_generation(s) == generation;
    bool says = ours && (!s->u.complained || now - s->u.complained >= CRT_SEC(1));
    if (says) s->u.complained = now;
    crt__sock_unlock(s);
    return says;
}
static CRT__COLD crt_poll crt__accept_pause(crt_cx *cx, crt__sock *s, uint32_t generation, int e)
{
    crt_runtime *rt = cx->rt;
    crt_instant now = crt__rt_now(rt);
    if (!crt__has_time(rt)) return crt__io_end(s, cx->slot), -e;
    uint32_t ms = crt__atomic_load(&s->pause_ms, CRT__RELAXED);   // several tasks may accept
    ms = ms ? crt__min(ms * 2, 1000) : 10;
    crt__atomic_store(&s->pause_ms, ms, CRT__RELAXED);
    if (crt__accept_complains(s, generation, now)) {
        crt__say(rt, CRT_LOG_WARN, "accept: %s; waiting %u ms (raise the limit with ulimit -n, or close something)",
                 strerror(e), ms);
    }
    crt_poll r = crt__io_pause(cx, s, &crt__op_accept_pause, now, CRT_MS(ms), 0);
    if (r == CRT_ENOMEM) crt__io_end(s, cx->slot);
    return r;
}

// Takes one connection, if there is one. 0 and *out, CRT_EAGAIN, or an error.
static int crt__accept_one(crt_runtime *rt, crt__sock *s, crt_stream **out, crt_addr *peer)
{
    crt__sock *made;
    crt_addr from;
    for (;;) {
        uint64_t seen = crt__atomic_load(&s->ready, CRT__ACQUIRE);
        if (seen & CRT__IO_SHUTDOWN) return CRT_ESHUTDOWN;
        memset(&from, 0, sizeof from);
        socklen_t n = sizeof from.u.bytes;
        // The record comes first: a connection that is taken must not be lost for it.
        if (!(made = crt__sock_alloc(rt))) return CRT_ENOMEM;
        int fd = crt__accept(s->fd, crt__sockaddr(&from), &n);
        if (fd >= 0) {
            if (crt__atomic_load(&s->pause_ms, CRT__RELAXED)) crt__atomic_store(&s->pause_ms, 0, CRT__RELAXED);
            from.len = (uint32_t)n;
            if (peer) *peer = from;
            if (s->flags & CRT__SOCK_NODELAY) (void)crt__set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
            int e = crt__sock_attach(rt, made, fd, CRT__WRITABLE, &made);
            if (!e) made->flags = s->flags & CRT__SOCK_WHOLE;
            *out = (crt_stream *)made;
            return e;
        }
        crt__sock_unalloc(rt, made);
        if (fd == -EINTR || fd == -ECONNABORTED) continue;
        if (!crt__would_block(-fd)) return fd;
        crt__ready_clear(s, seen, CRT__READABLE | CRT__IO_ERROR | CRT__READ_CLOSED);
        return CRT_EAGAIN;
    }
}
static crt_poll crt__accept_go_on(crt_cx *cx, crt__sock *s, crt_stream **out, crt_addr *peer)
{
    crt_slot *slot = cx->slot;
    uint32_t generation = slot->op ? crt__wait_generation(slot) : crt__sock_generation(s);
    for (;;) {
        crt_poll r;
        if (!(crt__ready_now(s) & CRT__FOR_READ)) {
            if ((r = crt__io_park(cx, s, &crt__op_accept, CRT__FOR_READ)) != 0) return r;
            continue;
        }
        r = crt__accept_one(cx->rt, s, out, peer);
        if (r == CRT_EAGAIN) continue;
        if (r < 0 && crt__accept_must_pause((int)-r)) {
            if ((r = crt__accept_pause(cx, s, generation, (int)-r)) != 0) return r;
            continue;
        }
        crt__io_end(s, slot);
        return r;
    }
}
CRTDEF crt_poll crt_accept(crt_cx *cx, crt_listener *l, crt_stream **out, crt_addr *peer)
{
    crt__sock *s = (crt__sock *)l;
    crt_slot *slot = cx->slot;
    crt_poll r;
    if (!out) return crt__refuse(cx, CRT_EINVAL);
    *out = NULL;
    if (slot->op == &crt__op_accept_pause && !cx->unwind && !crt__io_pause_ended(slot, &crt__op_accept))
        return CRT_PENDING;
    s = crt__sock_of(slot, &crt__op_accept, s);
    if (!crt__leaf(cx, &crt__op_accept, s)) return CRT_UNWIND;
    if (!s) return crt__refuse(cx, CRT_EINVAL);
    if (CRT__UNLIKELY(!cx->rt->reactor)) return crt__no_driver(cx, "crt_accept");   // the listener is another's
    if (slot->op) {
        if ((r = crt__io_resume(cx)) != 0) return r;
    } else if (!crt__coop(cx)) {
        crt__io_hold(cx, s, &crt__op_accept, 0);
        return CRT_PENDING;
    }
    bool held = slot->op != NULL;
    if (held && !crt__io_hold_open(cx, s)) return CRT_ECLOSED;
    r = crt__accept_go_on(cx, s, out, peer);
    if (held) crt__sock_unref(s);
    return r;
}
CRTDEF int crt_try_accept(crt_listener *l, crt_stream **out, crt_addr *peer)
{
    if (!out) return CRT_EINVAL;
    *out = NULL;
    return l ? crt__accept_one(((crt__sock *)l)->rt, (crt__sock *)l, out, peer) : CRT_EINVAL;
}

// --- names
// A lookup is a call on the blocking pool with a gate of its own before it: while
// config.max_lookups of them are under way, others wait in a queue, and each that ends
// lets in the next. So names that nobody answers for take a part of the pool only.
// Invariant (under lookup_lock): somebody waits only while `lookups` is at the limit,
// and each of those will come by crt__lookup_leave, whatever becomes of it.

typedef struct crt__resolve {
    crt__call call;
    crt_runtime *rt;
    struct crt__resolve *next, *prev;   // in the queue before the gate
    uint32_t queued;                    // under lookup_lock
    uint32_t count;                     // addresses found
    char host[256], port[8];
    crt_addr addr[CRT__RESOLVE_MOST];
} crt__resolve;

static CRT__COLD intptr_t crt__resolve_run(crt__resolve *r)
{
    struct addrinfo hints, *list = NULL;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;
    int e = crt__net_begin();
    if (e) return e;
    e = getaddrinfo(r->host, r->port, &hints, &list);
#ifdef EAI_SYSTEM
    if (e == EAI_SYSTEM) return errno ? -errno : (int)CRT_ENOTFOUND;
#endif
    if (e) return e == EAI_MEMORY ? CRT_ENOMEM : CRT_ENOTFOUND;
    for (struct addrinfo *a = list; a && r->count < CRT__RESOLVE_MOST; a = a->ai_next)
        if (!crt_addr_from_sockaddr(&r->addr[r->count], a->ai_addr, a->ai_addrlen)) r->count++;
    freeaddrinfo(list);
    return r->count ? 0 : CRT_ENOTFOUND;
}
static void crt__nothing_to_clean(crt__call *call) { (void)call; }

// A lookup of "host:port", not yet started. 0, CRT_EINVAL, CRT_ENOMEM.
static CRT__COLD int crt__resolve_new(crt_cx *cx, const char *text, crt__resolve **out)
{
    const char *colon = text ? strrchr(text, ':') : NULL;
    size_t n = colon ? (size_t)(colon - text) : 0;
    bool good = n && n < sizeof(*out)->host && crt__parse_port(colon + 1) >= 0;
    *out = NULL;
    if (!good || text[0] == '[' || memchr(text, ':', n)) {   // or a bad IPv6 address
        crt__say(cx->rt, CRT_LOG_WARN,
                 "\"%s\" is no address: write \"host:80\", \"1.2.3.4:80\" or \"[::1]:80\", with a number for the port",
                 text ? text : "(null)");
        return CRT_EINVAL;
    }
    crt__resolve *r = crt__call_new(sizeof *r, NULL, crt__nothing_to_clean);
    if (!r) return CRT_ENOMEM;
    memcpy(r->host, text, n);
    snprintf(r->port, sizeof r->port, "%u", (unsigned)(uint16_t)crt__parse_port(colon + 1));
    *out = r;
    return 0;
}
// Through the gate: true. Otherwise it is in the queue.
static CRT__COLD bool crt__lookup_enter(crt__resolve *r)
{
    crt_runtime *rt = r->rt;
    crt__lock(&rt->lookup_lock);
    bool in = rt->lookups < (uint32_t)rt->config.max_lookups;
    if (in) {
        rt->lookups++;
    } else {
        r->prev = rt->lookup_last;
        if (r->prev) r->prev->next = r;
        else rt->lookup_first = r;
        rt->lookup_last = r;
    }
    r->queued = !in;
    crt__unlock(&rt->lookup_lock);
    return in;
}
// Out of the queue, if it is still there. Under the lock.
static bool crt__lookup_unqueue(crt__resolve *r)
{
    crt_runtime *rt = r->rt;
    if (!r->queued) return false;
    if (r->prev) r->prev->next = r->next;
    else rt->lookup_first = r->next;
    if (r->next) r->next->prev = r->prev;
    else rt->lookup_last = r->prev;
    r->queued = 0;
    return true;
}
// A lookup has ended: the first that waits takes its place.
static CRT__COLD void crt__lookup_leave(crt_runtime *rt)
{
    for (;;) {
        crt__lock(&rt->lookup_lock);
        crt__resolve *r = rt->lookup_first;
        if (r) crt__lookup_unqueue(r);
        else rt->lookups--;
        crt__unlock(&rt->lookup_lock);
        int e = r ? crt__pool_spawn(rt, NULL, NULL, crt__lookup_main, r) : 0;
        if (!e) return;
        r->call.result = e;
        crt__call_finish(&r->call);
    }
}
static CRT__COLD intptr_t crt__lookup_main(void *arg)
{
    crt__resolve *r = arg;
    if (crt__atomic_load(&r->call.refs, CRT__ACQUIRE) > 1) r->call.result = crt__resolve_run(r);   // still wanted
    crt__lookup_leave(r->rt);
    crt__call_finish(&r->call);
    return 0;
}
static CRT__COLD void crt__op_resolve_cancel(crt_slot *slot)
{
    crt__resolve *r = slot->object;
    crt__lock(&r->rt->lookup_lock);
    bool waits = crt__lookup_unqueue(r);
    crt__unlock(&r->rt->lookup_lock);
    crt__word_unpark(&r->call.word, slot->task);
    if (waits) crt__call_unref(&r->call);   // the reference of a job that will not be
    crt__call_unref(&r->call);
}
static const crt__op crt__op_resolve = {"resolve", crt__op_resolve_cancel};

// Starts the lookup and parks. CRT_PENDING, or an error, with the record gone.
static CRT__COLD crt_poll crt__lookup_start(crt_cx *cx, crt__resolve *r)
{
    crt__task_ref(cx->task);
    r->rt = cx->rt;
    r->call.word = (uintptr_t)cx->task;
    r->call.refs = 2;
    crt__slot_park(cx, cx->slot, &crt__op_resolve, r);
    if (!crt__lookup_enter(r)) return CRT_PENDING;
    int e = crt__pool_spawn(cx->rt, cx->worker, NULL, crt__lookup_main, r);
    if (!e) return CRT_PENDING;
    cx->slot->op = NULL;
    crt__task_unref(cx->task, 1);
    r->call.refs = 1;
    crt__call_unref(&r->call);
    crt__lookup_leave(cx->rt);
    return e;
}

CRTDEF crt_poll crt_resolve(crt_cx *cx, const char *host_port, crt_addr *out, size_t max)
{
    crt__resolve *r;
    crt_addr a;
    if (!crt__leaf(cx, &crt__op_resolve, cx->slot->op == &crt__op_resolve ? cx->slot->object : NULL))
        return CRT_UNWIND;
    if (!cx->slot->op) {
        if (max && !out) return crt__refuse(cx, CRT_EINVAL);
        if (!crt__coop(cx)) return CRT_PENDING;
        if (!crt_addr_parse(host_port, &a)) {
            if (max) *out = a;
            return max > 0;
        }
        int e = crt__resolve_new(cx, host_port, &r);
        return e ? e : crt__lookup_start(cx, r);
    }
    if (!(r = (crt__resolve *)crt__call_result(cx))) return CRT_PENDING;
    crt_poll n = r->call.result < 0 ? r->call.result : (crt_poll)crt__min(r->count, max);
    if (n > 0) memcpy(out, r->addr, (size_t)n * sizeof *out);
    crt__call_unref(&r->call);
    return n;
}

// --- connecting
// A race (RFC 8305, "happy eyeballs"): the attempts under way and a timer for the next
// each have a slot of their own in a record that the task's slot holds. Whichever of
// them is ready wakes the task, which looks at all. The record owns the sockets: to let
// go of it is to close them.

// 1: connected, 0: not yet, or -errno; `seen` is its readiness.
static int crt__connect_result(crt__sock *s, uint64_t seen)
{
    struct sockaddr_storage peer;
    socklen_t n = sizeof peer;
    int e = crt__take_error(s->fd);
    if (e) return e;
    if (!crt__os_getpeername((int)s->fd, (struct sockaddr *)&peer, &n)) return 1;
    int why = errno == ENOTCONN ? 0 : -errno;
    if (why && why != -EINVAL) return why;
    // A peer that has answered and closed has no name any more: ENOTCONN on the BSDs, EINVAL on
    // macOS. So has one that broke since.
    if ((e = crt__take_error(s->fd)) != 0) return e;
    return seen & CRT__WRITE_CLOSED ? 1 : why;
}
// Connects fd. On failure it is closed. 1: at once, as Unix sockets do; 0: under way, or an error.
static int crt__connect_begin(crt_cx *cx, int fd, crt_addr *a, crt__sock **out)
{
    int e = 0;
    if (crt__os_connect(fd, crt__sockaddr(a), (socklen_t)a->len)) e = errno;
    if (e && e != EINPROGRESS && e != EINTR) {   // interrupted, it goes on all the same
        crt__fd_close(fd);
        return -e;
    }
    int failed = crt__sock_new(cx->rt, fd, e ? 0 : CRT__WRITABLE, out);
    return failed ? failed : !e;
}
// Waits for one connection. CRT_PENDING, 0 or an error; the socket is handed out or gone.
static crt_poll crt__connect_wait(crt_cx *cx, const crt__op *op, crt__sock *s, crt_stream **out)
{
    for (;;) {
        uint64_t seen = crt__atomic_load(&s->ready, CRT__ACQUIRE);
        if (seen & CRT__FOR_WRITE) {
            int done = seen & CRT__IO_SHUTDOWN ? CRT_ESHUTDOWN : crt__connect_result(s, seen);
            if (done) {
                cx->slot->op = NULL;
                if (done > 0) *out = (crt_stream *)s;
                else crt__sock_unref(s);
                return crt__min(done, 0);
            }
            crt__ready_clear(s, seen, CRT__FOR_WRITE);
        } else {
            crt_poll r = crt__io_park(cx, s, op, CRT__FOR_WRITE);
            if (r != 0) return r;
        }
    }
}

typedef struct crt__attempt {
    crt_slot slot;
    crt__sock *sock;        // NULL: not under way
    crt_instant deadline;
} crt__attempt;
typedef struct crt__race {
    crt_slot timer;         // of the lookup, then until the next attempt or deadline
    crt__resolve *names;    // NULL: a numeric address
    crt_addr one, local;    // that address; what to bind first, if it has a length
    crt_connect_desc desc;  // with defaults filled in; desc.local is not used
    crt_addr *addr;
    uint32_t count, begun, live;
    crt_instant due;        // when the next attempt begins, if none fails before
    crt_poll error;         // of the attempt that failed last
    crt__attempt attempt[];
} crt__race;

static const crt__op crt__op_attempt = {"connect", crt__io_cancel};

static void crt__attempt_end(crt__attempt *a)
{
    crt__slot_cancel(&a->slot);
    if (a->sock) crt__sock_unref(a->sock);
    a->sock = NULL;
}
static CRT__COLD void crt__race_free(crt__race *race)
{
    crt__slot_cancel(&race->timer);
    for (uint32_t i = 0; i < race->begun; i++) crt__attempt_end(&race->attempt[i]);
    if (race->names) crt__call_unref(&race->names->call);
    CRT_FREE(race);
}
static CRT__COLD void crt__op_connect_cancel(crt_slot *slot) { crt__race_free(slot->object); }
static const crt__op crt__op_connect = {"connect", crt__op_connect_cancel};

static CRT__COLD int crt__connect_desc_check(crt_cx *cx, crt__race *race)
{
    crt_connect_desc *d = &race->desc;
    crt__options o = {d->reuseaddr, d->reuseport, false, false, d->send_buffer, d->recv_buffer, d->ttl, d->tos, 0};
    bool bad = d->attempt_delay < 0 || d->attempt_timeout < 0 || (d->linger_on && d->linger < 0) ||
               d->keepalive.idle < 0 || d->keepalive.interval < 0 || d->keepalive.count < 0;
    if (bad || crt__options_bad(&o)) return CRT_EINVAL;
    if (d->local && crt_addr_parse(d->local, &race->local)) return CRT_EINVAL;
    d->attempt_delay = d->attempt_delay ? crt__max(d->attempt_delay, CRT_MS(10)) : CRT_MS(250);
    if (crt__has_time(cx->rt)) return 0;
    d->attempt_delay = CRT_FOREVER;
    return d->attempt_timeout ? crt__no_time(cx->rt, "attempt_timeout") : 0;
}
// The addresses are there. Only those of the family that we are bound to; then
// families take turns, the one that the resolver puts first begins.
static void crt__race_order(crt__race *race)
{
    uint32_t n = 0;
    int family = race->local.len ? crt__family(&race->local) : 0;
    for (uint32_t i = 0; i < race->count; i++)
        if (!family || crt__family(&race->addr[i]) == family) race->addr[n++] = race->addr[i];
    if (!n) race->error = -EAFNOSUPPORT;
    race->count = n;
    for (uint32_t i = 1; i < n; i++) {
        uint32_t j = i;
        while (j < n && crt__family(&race->addr[j]) == crt__family(&race->addr[i - 1])) j++;
        if (j == n) return;   // the rest is of one family
        crt_addr other = race->addr[j];
        memmove(&race->addr[i + 1], &race->addr[i], (j - i) * sizeof other);
        race->addr[i] = other;
    }
}
// A record for "host:port". 0, or an error, with nothing kept.
static CRT__COLD int crt__race_new(crt_cx *cx, const char *addr, const crt_connect_desc *desc, crt__race **out)
{
    crt_addr one;
    bool numeric = !crt_addr_parse(addr, &one);
    size_t size = sizeof(crt__race) + (numeric ? 1 : CRT__RESOLVE_MOST) * sizeof(crt__attempt);
    crt__race *race = CRT_MALLOC(size);
    if (!race) return CRT_ENOMEM;
    memset(race, 0, size);
    if (desc) race->desc = *desc;
    int e = crt__connect_desc_check(cx, race);
    if (!e && !numeric) e = crt__resolve_new(cx, addr, &race->names);
    if (e) {
        CRT_FREE(race);
        return e;
    }
    *out = race;
    if (!numeric) return 0;
    race->one = one;
    race->addr = &race->one;
    race->count = 1;
    crt__race_order(race);
    return 0;
}
// Polls the lookup in the record's slot. 0: the addresses are there.
static crt_poll crt__race_lookup(crt_cx *cx, crt__race *race)
{
    crt_slot *outer = cx->slot;
    crt_poll r = CRT_PENDING;
    crt__resolve *names = race->names;
    cx->slot = &race->timer;
    if (!cx->slot->op) {
        race->names = NULL;   // the slot has it now
        r = crt__lookup_start(cx, names);
    } else if ((names = (crt__resolve *)crt__call_result(cx))) {
        race->names = names;
        race->addr = names->addr;
        race->count = names->count;
        r = names->call.result;
    }
    cx->slot = outer;
    return r;
}
static int crt__attempt_open(crt__race *race, crt_addr *to)
{
    const crt_connect_desc *d = &race->desc;
    crt__options o = {d->reuseaddr, d->reuseport, false, false, d->send_buffer, d->recv_buffer, d->ttl, d->tos, 0};
    int family = crt__family(to), fd = crt__socket(family, SOCK_STREAM);
    if (fd < 0) return fd;
    int e = crt__options_set(fd, family, &o);
    if (!e && !d->no_nodelay) e = crt__set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (!e && d->keepalive.on) e = crt__set_keepalive(fd, &d->keepalive);
    if (!e && d->linger_on) e = crt__set_linger(fd, d->linger);
    if (!e && race->local.len) {
#ifdef IP_BIND_ADDRESS_NO_PORT
        // The port is chosen by connect, which knows the peer: many more are free.
        if (!crt_addr_port(&race->local)) (void)crt__set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
#endif
        if (crt__os_bind(fd, crt__sockaddr(&race->local), (socklen_t)race->local.len)) e = -errno;
    }
    if (!e) return fd;
    crt__fd_close(fd);
    return e;
}
// CRT_PENDING, 0 and *out, or an error, with the attempt over.
static crt_poll crt__attempt_poll(crt_cx *cx, crt__attempt *a, crt_stream **out)
{
    crt_slot *outer = cx->slot;
    crt_poll r = 0;
    cx->slot = &a->slot;
    if (a->slot.op) r = crt__io_resume(cx);
    if (r == 0) r = crt__connect_wait(cx, &crt__op_attempt, a->sock, out);
    if (r != CRT_PENDING) a->sock = NULL;
    cx->slot = outer;
    return r;
}
static crt_poll crt__attempt_start(crt_cx *cx, crt__race *race, crt_instant now, crt_stream **out)
{
    crt__attempt *a = &race->attempt[race->begun];
    crt_addr *to = &race->addr[race->begun++];
    int fd = crt__attempt_open(race, to);
    int e = fd < 0 ? fd : crt__connect_begin(cx, fd, to, &a->sock);
    if (e < 0) return e;
    a->deadline = race->desc.attempt_timeout ? crt__instant_after(now, race->desc.attempt_timeout) : CRT_FOREVER;
    race->due = crt__instant_after(now, race->desc.attempt_delay);
    return crt__attempt_poll(cx, a, out);
}
// Looks at what is under way, begins what is due, sets the timer for what comes next.
static crt_poll crt__race_step(crt_cx *cx, crt__race *race, crt_stream **out)
{
    crt_instant now = crt__rt_now(cx->rt), next = CRT_FOREVER;
    bool failed = false;
    crt_poll r;
    for (uint32_t i = 0; i < race->begun; i++) {
        crt__attempt *a = &race->attempt[i];
        if (!a->sock) continue;
        r = crt__attempt_poll(cx, a, out);
        if (r == CRT_PENDING && now < a->deadline) continue;
        if (r == CRT_PENDING) {
            crt__attempt_end(a);
            r = CRT_ETIMEDOUT;
        }
        if (r == 0 || r == CRT_ESHUTDOWN) return r;
        race->error = r;
        race->live--;
        failed = true;
    }
    while (race->begun < race->count && (failed || !race->live || now >= race->due)) {
        r = crt__attempt_start(cx, race, now, out);
        if (r == 0 || r == CRT_ESHUTDOWN) return r;
        failed = r != CRT_PENDING;
        if (failed) race->error = r;
        else race->live++;
    }
    if (!race->live) return race->error;
    if (race->begun < race->count) next = race->due;
    for (uint32_t i = 0; i < race->begun; i++)
        if (race->attempt[i].sock) next = crt__min(next, race->attempt[i].deadline);
    if (next != CRT_FOREVER && !crt__timer_start(cx, &race->timer, next, now)) cx->deferred = 1;   // due already
    return CRT_PENDING;
}
static CRT__COLD crt_poll crt__race_poll(crt_cx *cx, crt__race *race, crt_stream **out)
{
    if (!race->count && !race->error) {
        crt_poll r = crt__race_lookup(cx, race);
        if (r != 0) return r;
        crt__race_order(race);
    } else {
        crt__slot_cancel(&race->timer);
    }
    return crt__race_step(cx, race, out);
}
CRTDEF crt_poll crt_tcp_connect_ex(crt_cx *cx, const char *addr, const crt_connect_desc *desc, crt_stream **out)
{
    crt_slot *slot = cx->slot;
    crt__race *race = slot->op == &crt__op_connect ? slot->object : NULL;
    if (!out) return crt__refuse(cx, CRT_EINVAL);
    *out = NULL;
    if (!crt__leaf(cx, &crt__op_connect, race)) return CRT_UNWIND;
    if (!race) {
        if (!cx->rt->reactor) return crt__no_driver(cx, "crt_tcp_connect");
        int e = crt__race_new(cx, addr, desc, &race);
        if (e) return crt__refuse(cx, e);
        if (!crt__coop(cx)) {   // what it was given is copied
            crt__slot_park(cx, slot, &crt__op_connect, race);
            return CRT_PENDING;
        }
    }
    crt_poll r = crt__race_poll(cx, race, out);
    if (r == CRT_PENDING) {
        crt__slot_park(cx, slot, &crt__op_connect, race);
        return r;
    }
    slot->op = NULL;
    crt__race_free(race);
    return r;
}
CRTDEF crt_poll crt_tcp_connect(crt_cx *cx, const char *addr, crt_stream **out)
{
    return crt_tcp_connect_ex(cx, addr, NULL, out);
}

static void crt__op_sock_cancel(crt_slot *slot)
{
    crt__sock *s = slot->object;
    crt__io_cancel(slot);
    crt__sock_unref(s);
}
static const crt__op crt__op_unix_connect = {"connect", crt__op_sock_cancel};
static const crt__op crt__op_unix_pause = {"connect (the backlog is full)", crt__timer_cancel};

// As crt__connect_begin. CRT_EAGAIN: the listener's backlog is full.
static int crt__unix_begin(crt_cx *cx, crt_addr *a, crt__sock **s)
{
    int fd = crt__socket(AF_UNIX, SOCK_STREAM);
    int e = fd < 0 ? fd : crt__connect_begin(cx, fd, a, s);
    if (e >= 0) (*s)->flags |= CRT__SOCK_WHOLE;
    return e;
}
CRTDEF crt_poll crt_unix_connect(crt_cx *cx, const char *path, crt_stream **out)
{
    crt_slot *slot = cx->slot;
    crt__sock *s = slot->op == &crt__op_unix_connect ? slot->object : NULL;
    bool paused = slot->op == &crt__op_unix_pause && !cx->unwind;
    crt_addr a;
    crt_poll r;
    if (!out) return crt__refuse(cx, CRT_EINVAL);
    *out = NULL;
    if (paused && !crt__timer_fired(slot)) return CRT_PENDING;
    if (!crt__leaf(cx, &crt__op_unix_connect, s)) return CRT_UNWIND;
    if (s) {
        if ((r = crt__io_resume(cx)) != 0) return r;
        return crt__connect_wait(cx, &crt__op_unix_connect, s, out);
    }
    if (!cx->rt->reactor) return crt__no_driver(cx, "crt_unix_connect");
    if (!paused && !crt__coop(cx)) return CRT_PENDING;
    if (crt_addr_unix(path, &a)) return CRT_EINVAL;
    while ((r = crt__unix_begin(cx, &a, &s)) == CRT_EAGAIN) {
        // No event tells when there is room: look again.
        crt_instant now = crt__rt_now(cx->rt);
        if (!crt__has_time(cx->rt)) return r;
        if (!crt__timer_start(cx, slot, crt__instant_after(now, CRT_MS(2)), now)) continue;
        slot->op = &crt__op_unix_pause;
        return CRT_PENDING;
    }
    if (r == 0) return crt__connect_wait(cx, &crt__op_unix_connect, s, out);
    if (r > 0) *out = (crt_stream *)s;
    return crt__min(r, 0);
}

// --- pairs and pipes

#ifndef _WIN32
// What an end of a pipe is to begin with: who reads where only writing goes is told -EBADF by
// the system at once, where no event would ever come.
static uint32_t crt__one_way(bool writes) { return writes ? CRT__READ_CLOSED : CRT__WRITE_CLOSED; }
// A pipe that was just made: there is room in it.
static uint32_t crt__new_pipe_way(bool writes) { return crt__one_way(writes) | (writes ? CRT__WRITABLE : 0); }
#endif
// Two records for two new descriptors, or neither.
static int crt__sock_new_two(crt_runtime *rt, const int fd[2], uint32_t ready, uint32_t flags, crt__sock **a,
                             crt__sock **b)
{
    int e = crt__sock_new(rt, fd[0], ready, a);
    if (e) {
        crt__fd_close(fd[1]);
        return e;
    }
    if ((e = crt__sock_new(rt, fd[1], ready, b))) {
        crt__sock_unref(*a);
        *a = NULL;
        return e;
    }
    (*a)->flags = (*b)->flags = flags;
    return 0;
}
CRTDEF int crt_stream_pair(crt_cx *cx, crt_stream **a, crt_stream **b)
{
    int fd[2];
    if (!a || !b) return CRT_EINVAL;
    *a = *b = NULL;
    if (!cx->rt->reactor) return (int)crt__no_driver(cx, "crt_stream_pair");
    int e = crt__socket_pair(SOCK_STREAM, fd);
    if (e) return e;
    return crt__sock_new_two(cx->rt, fd, CRT__WRITABLE, CRT__SOCK_WHOLE | CRT__SOCK_PAIR, (crt__sock **)(void *)a,
                             (crt__sock **)(void *)b);
}
CRTDEF int crt_pipe(crt_cx *cx, crt_stream **rx, crt_stream **tx)
{
    if (!rx || !tx) return CRT_EINVAL;
    *rx = *tx = NULL;
    if (!cx->rt->reactor) return (int)crt__no_driver(cx, "crt_pipe");
#ifdef _WIN32
    return crt__win_pipe(cx->rt, rx, tx);
#else
    int fd[2];
    int e = crt__pipe(fd, true);
    if (e) return e;
    crt__fd_set_sigpipe(fd[1], false);
    e = crt__sock_new_two(cx->rt, fd, 0, CRT__SOCK_FILE | CRT__SOCK_WHOLE, (crt__sock **)(void *)rx,
                          (crt__sock **)(void *)tx);
    if (e) return e;
    crt__ready_set((crt__sock *)*rx, crt__new_pipe_way(false));
    crt__ready_set((crt__sock *)*tx, crt__new_pipe_way(true));
    return 0;
#endif
}

// --- foreign descriptors

enum { CRT__AS_STREAM, CRT__AS_LISTENER, CRT__AS_DATAGRAMS };

#ifndef CRT__LISTENERS_UNTOLD
// 0: no. On Linux 1, on FreeBSD and OpenBSD the option's own bit.
static int crt__sock_listens(crt__fd fd) { return crt__get_option(fd, SOL_SOCKET, SO_ACCEPTCONN); }
#endif
// The flags of a record for such a descriptor, or an error.
static CRT__COLD int crt__adopt_kind(crt_cx *cx, crt__fd fd, int as)
{
#ifndef _WIN32
    struct stat st;
    if (fstat((int)fd, &st)) return -errno;
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
        crt__say(cx->rt, CRT_LOG_ERROR,
                 "descriptor %d is a plain file, which is always ready: use crt_fs_*, or crt_spawn_blocking", (int)fd);
        return -EPERM;
    }
    if (!S_ISSOCK(st.st_mode)) return as == CRT__AS_STREAM ? CRT__SOCK_FILE | CRT__SOCK_WHOLE : -ENOTSOCK;
#else
    (void)cx;   // what is no socket is refused below
#endif
    int type = crt__get_option(fd, SOL_SOCKET, SO_TYPE);
    bool packets = type == SOCK_SEQPACKET;
    if (type < 0) return type;
    if (as == CRT__AS_DATAGRAMS) {
        if (type != SOCK_DGRAM) return -EPROTOTYPE;
        return crt__fd_family(fd) == AF_UNIX ? CRT__SOCK_UNIX : 0;
    }
    if (type != SOCK_STREAM && !packets) return -EPROTOTYPE;
    int listens = crt__sock_listens(fd);   // an error: the caller will know
    if (listens >= 0 && (listens > 0) != (as == CRT__AS_LISTENER)) return -EPROTOTYPE;
    return packets || crt__fd_family(fd) == AF_UNIX ? CRT__SOCK_WHOLE : 0;
}
static int crt__fd_adopt(crt_cx *cx, intptr_t fd, int how, int as, crt__sock **out)
{
    crt__sock *s;
    if (!out) return CRT_EINVAL;
    *out = NULL;
    if (!cx->rt->reactor) return (int)crt__no_driver(cx, "a descriptor");
    if (fd < 0 || fd > INT_MAX || (how != CRT_FD_OWN && how != CRT_FD_DUP)) return CRT_EINVAL;
    int kind = crt__adopt_kind(cx, fd, as);
    if (kind < 0) return kind;
    if (!(s = crt__sock_alloc(cx->rt))) return CRT_ENOMEM;
    int twin = how == CRT_FD_DUP ? crt__dup(fd) : (int)fd;
    int flags = twin < 0 ? twin : crt__fd_prepare(twin);
    int e = flags < 0 ? flags : 0;
    uint32_t ready = 0;
#ifndef _WIN32
    if (!e && (flags & O_ACCMODE) != O_RDWR) ready = crt__one_way((flags & O_ACCMODE) == O_WRONLY);
#endif
    if (e) crt__sock_unalloc(cx->rt, s);
    else e = crt__sock_watch(cx->rt, s, twin, ready, out);
    if (!e) {
#ifndef _WIN32
        if (how == CRT_FD_OWN) (void)fcntl(twin, F_SETFD, FD_CLOEXEC);   // not before it is ours
#endif
        s->flags = (uint32_t)kind;
        return 0;
    }
    if (flags >= 0) crt__fd_restore(twin, flags);
    if (twin >= 0 && how == CRT_FD_DUP) crt__fd_close(twin);
    return e;
}
CRTDEF int crt_stream_from_fd(crt_cx *cx, intptr_t fd, int how, crt_stream **s)
{
    return crt__fd_adopt(cx, fd, how, CRT__AS_STREAM, (crt__sock **)(void *)s);
}
CRTDEF int crt_listener_from_fd(crt_cx *cx, intptr_t fd, int how, crt_listener **l)
{
    int e = crt__fd_adopt(cx, fd, how, CRT__AS_LISTENER, (crt__sock **)(void *)l);
    if (!e && crt__fd_family(fd) != AF_UNIX) ((crt__sock *)*l)->flags |= CRT__SOCK_NODELAY;
    return e;
}
CRTDEF int crt_udp_from_fd(crt_cx *cx, intptr_t fd, int how, crt_udp **u)
{
    return crt__fd_adopt(cx, fd, how, CRT__AS_DATAGRAMS, (crt__sock **)(void *)u);
}
static intptr_t crt__give_back(crt__sock **at)
{
    crt__sock *s = at ? *at : NULL;
    uint32_t one = 1;
    if (!s) return CRT_EINVAL;
    if (crt__sock_is_soft(s)) return -EBADF;
    if (!crt__atomic_cas(&s->refs, &one, 0, CRT__ACQ_REL, CRT__ACQUIRE)) return CRT_EBUSY;
    *at = NULL;
    crt__fd fd = s->fd;
    crt__sock_retire(s, true);
    return fd;
}
CRTDEF intptr_t crt_stream_into_fd(crt_stream **s) { return crt__give_back((crt__sock **)(void *)s); }
CRTDEF intptr_t crt_listener_into_fd(crt_listener **l) { return crt__give_back((crt__sock **)(void *)l); }
CRTDEF intptr_t crt_udp_into_fd(crt_udp **u) { return crt__give_back((crt__sock **)(void *)u); }

static crt_poll crt__shutdown_now(crt_stream *s, int how)
{
    if (crt__sock_is_soft((crt__sock *)s)) return ((crt__sock *)s)->u.soft->ops->shutdown((crt__sock *)s, how);
    if (((crt__sock *)s)->flags & CRT__SOCK_FILE) return 0;
    if (crt__os_shutdown((int)crt__fd_of(s), how) && errno != ENOTCONN) return -errno;
#ifdef _WIN32   // whoever waits there is not told by the system
    crt__sock *sock = (crt__sock *)s;
    if (how == CRT__SHUT_RD)
        (void)crt__sock_event(sock->rt, crt__sock_token(sock), CRT__READABLE | CRT__READ_CLOSED);
#endif
    return 0;
}
// Done at once, and the same when done twice: without budget it is done, and said at the next poll.
static crt_poll crt__shutdown(crt_cx *cx, crt_stream *s, int how)
{
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    return crt__refuse(cx, s ? crt__shutdown_now(s, how) : CRT_EINVAL);
}
CRTDEF crt_poll crt_shutdown(crt_cx *cx, crt_stream *s) { return crt__shutdown(cx, s, CRT__SHUT_WR); }
CRTDEF crt_poll crt_shutdown_read(crt_cx *cx, crt_stream *s) { return crt__shutdown(cx, s, CRT__SHUT_RD); }
CRTDEF crt_stream *crt_stream_clone(crt_stream *s)
{
    if (s) crt__atomic_add(&((crt__sock *)s)->refs, 1, CRT__RELAXED);
    return s;
}
CRTDEF void crt_stream_close(crt_stream **s)
{
    crt__sock *old = s ? (crt__sock *)*s : NULL;
    if (!old) return;
    *s = NULL;
    crt__sock_unref(old);
}
CRTDEF void crt_listener_close(crt_listener **l) { crt_stream_close((crt_stream **)(void *)l); }

// --- options of each kind

CRTDEF intptr_t crt_stream_fd(const crt_stream *s) { return crt__fd_of(s); }
CRTDEF intptr_t crt_listener_fd(const crt_listener *l) { return crt__fd_of(l); }
CRTDEF intptr_t crt_udp_fd(const crt_udp *u) { return crt__fd_of(u); }

CRTDEF int crt_stream_set_nodelay(crt_stream *s, bool on)
{
    return crt__set_option(crt__fd_of(s), IPPROTO_TCP, TCP_NODELAY, on);
}
// On Unix the flags of a socket come as 1 or as the option's own bit.
static CRT__OUTLINE int crt__get_flag(crt__fd fd, int level, int name)
{
    int value = crt__get_option(fd, level, name);
    return value < 0 ? value : value != 0;
}
CRTDEF int crt_stream_get_nodelay(const crt_stream *s)
{
    return crt__get_flag(crt__fd_of(s), IPPROTO_TCP, TCP_NODELAY);
}
CRTDEF int crt_stream_set_keepalive(crt_stream *s, bool on)
{
    return crt__set_option(crt__fd_of(s), SOL_SOCKET, SO_KEEPALIVE, on);
}
CRTDEF int crt_stream_set_keepalive_ex(crt_stream *s, const crt_keepalive *k)
{
    return crt__set_keepalive(crt__fd_of(s), k);
}
// 0 where a socket has no such time of its own.
static int crt__keepalive_time(crt__fd fd, int name)
{
    int seconds = crt__get_option(fd, IPPROTO_TCP, name);
    return crt__max(seconds, 0);
}
CRTDEF int crt_stream_get_keepalive(const crt_stream *s, crt_keepalive *k)
{
    if (!k) return CRT_EINVAL;
    crt__fd fd = crt__fd_of(s);
    memset(k, 0, sizeof *k);
    int on = crt__get_flag(fd, SOL_SOCKET, SO_KEEPALIVE);
    if (on < 0) return on;
    k->on = on != 0;
    k->idle = crt__keepalive_time(fd, CRT__TCP_KEEPIDLE);
    k->interval = crt__keepalive_time(fd, CRT__TCP_KEEPINTVL);
    k->count = crt__keepalive_time(fd, CRT__TCP_KEEPCNT);
    return 0;
}
CRTDEF int crt_stream_set_linger(crt_stream *s, int seconds) { return crt__set_linger(crt__fd_of(s), seconds); }
CRTDEF int crt_stream_get_linger(const crt_stream *s, int *seconds)
{
    if (!seconds) return CRT_EINVAL;
    struct linger l = {0, 0};
    socklen_t n = sizeof l;
    *seconds = -1;
    if (!s) return CRT_EINVAL;
    if (crt__os_getsockopt((int)crt__fd_of(s), SOL_SOCKET, CRT__SO_LINGER, &l, &n)) return -errno;
    if (l.l_onoff) *seconds = l.l_linger;
    return 0;
}
CRTDEF int crt_stream_set_recv_buffer(crt_stream *s, int bytes)
{
    return crt__set_buffer(crt__fd_of(s), SO_RCVBUF, bytes);
}
CRTDEF int crt_stream_get_recv_buffer(const crt_stream *s)
{
    return crt__get_option(crt__fd_of(s), SOL_SOCKET, SO_RCVBUF);
}
CRTDEF int crt_stream_set_send_buffer(crt_stream *s, int bytes)
{
    return crt__set_buffer(crt__fd_of(s), SO_SNDBUF, bytes);
}
CRTDEF int crt_stream_get_send_buffer(const crt_stream *s)
{
    return crt__get_option(crt__fd_of(s), SOL_SOCKET, SO_SNDBUF);
}
CRTDEF int crt_stream_set_ttl(crt_stream *s, int ttl) { return crt__set_ttl(crt__fd_of(s), ttl); }
CRTDEF int crt_stream_get_ttl(const crt_stream *s)
{
    return crt__get_ip_option(crt__fd_of(s), IP_TTL, IPV6_UNICAST_HOPS);
}
CRTDEF int crt_stream_set_tos(crt_stream *s, int tos) { return crt__set_tos(crt__fd_of(s), tos); }
CRTDEF int crt_stream_get_tos(const crt_stream *s) { return crt__get_ip_option(crt__fd_of(s), IP_TOS, IPV6_TCLASS); }
#ifdef TCP_QUICKACK
CRTDEF int crt_stream_set_quickack(crt_stream *s, bool on)
{
    return crt__set_option(crt__fd_of(s), IPPROTO_TCP, TCP_QUICKACK, on);
}
CRTDEF int crt_stream_get_quickack(const crt_stream *s)
{
    return crt__get_flag(crt__fd_of(s), IPPROTO_TCP, TCP_QUICKACK);
}
#else
CRTDEF int crt_stream_set_quickack(crt_stream *s, bool on) { return (void)on, s ? -ENOPROTOOPT : CRT_EINVAL; }
CRTDEF int crt_stream_get_quickack(const crt_stream *s) { return s ? -ENOPROTOOPT : CRT_EINVAL; }
#endif
CRTDEF int crt_stream_take_error(crt_stream *s) { return crt__take_error(crt__fd_of(s)); }
CRTDEF int crt_listener_take_error(crt_listener *l) { return crt__take_error(crt__fd_of(l)); }
CRTDEF int crt_listener_set_ttl(crt_listener *l, int ttl) { return crt__set_ttl(crt__fd_of(l), ttl); }
CRTDEF int crt_listener_get_ttl(const crt_listener *l)
{
    return crt__get_ip_option(crt__fd_of(l), IP_TTL, IPV6_UNICAST_HOPS);
}
CRTDEF int crt_listener_set_backlog(crt_listener *l, int backlog)
{
    if (!l || backlog < 1) return CRT_EINVAL;
    return crt__os_listen((int)crt__fd_of(l), backlog) ? -errno : 0;
}
CRTDEF int crt_listener_get_v6only(const crt_listener *l)
{
    return crt__get_flag(crt__fd_of(l), IPPROTO_IPV6, IPV6_V6ONLY);
}

static int crt__name(crt__fd fd, crt_addr *a, int (*get)(int, struct sockaddr *, socklen_t *))
{
    socklen_t n = sizeof a->u.bytes;
    if (!a) return CRT_EINVAL;
    memset(a, 0, sizeof *a);
    if (fd < 0) return CRT_EINVAL;
    if (get((int)fd, crt__sockaddr(a), &n)) return -errno;
    a->len = (uint32_t)n;
    return 0;
}
CRTDEF int crt_stream_peer_addr(const crt_stream *s, crt_addr *a)
{
    return crt__name(crt__fd_of(s), a, crt__os_getpeername);
}
CRTDEF int crt_stream_local_addr(const crt_stream *s, crt_addr *a)
{
    return crt__name(crt__fd_of(s), a, crt__os_getsockname);
}
CRTDEF int crt_listener_local_addr(const crt_listener *l, crt_addr *a)
{
    return crt__name(crt__fd_of(l), a, crt__os_getsockname);
}
CRTDEF int crt_unix_peer_cred(const crt_stream *s, crt_peer_cred *cred)
{
    if (!cred) return CRT_EINVAL;
    memset(cred, 0, sizeof *cred);
    int family = crt__fd_family(crt__fd_of(s));
    if (family < 0) return family;
    if (family != AF_UNIX) return -EOPNOTSUPP;
    int e = crt__sock_peer_cred(crt__fd_of(s), cred);
#ifdef CRT__PAIRS_UNTOLD
    if (e && (((const crt__sock *)(const void *)s)->flags & CRT__SOCK_PAIR)) {
        *cred = (crt_peer_cred){getpid(), geteuid(), getegid()};
        e = 0;
    }
#endif
    return e;
}

// --- any descriptor: a duplicate of it is watched for the duration of the wait,
// so that two tasks may wait for the same one

static const crt__op crt__op_fd = {"descriptor", crt__op_sock_cancel};

// What a hang-up waits for. Where each direction ends by itself, a socket's both have to; what is no
// socket, a pipe say, may have only one.
static uint32_t crt__fd_hangup(const crt__sock *s, uint64_t ready)
{
#ifdef CRT__HALVES_TOLD
    if (s->flags & CRT__SOCK_FILE) return CRT__READ_CLOSED | CRT__WRITE_CLOSED;
    if (ready & CRT__WRITE_CLOSED) return CRT__READ_CLOSED;
#endif
    (void)s, (void)ready;
    return CRT__WRITE_CLOSED;
}
static int crt__fd_reasons(const crt__sock *s, uint64_t ready, int reasons)
{
    int all = (ready & (CRT__READABLE | CRT__READ_CLOSED) ? CRT_FD_READ : 0) |
              (ready & (CRT__WRITABLE | CRT__WRITE_CLOSED) ? CRT_FD_WRITE : 0) |
              (ready & CRT__PRIORITY ? CRT_FD_PRIORITY : 0) | (ready & CRT__IO_ERROR ? CRT_FD_ERROR : 0) |
              (ready & crt__fd_hangup(s, ready) ? CRT_FD_HANGUP : 0);
    return all & (reasons | CRT_FD_ERROR | CRT_FD_HANGUP);
}
// What of it holds now.
#ifndef _WIN32
static int crt__fd_now(const crt__sock *s, int reasons)
{
    // Each direction by itself: macOS says POLLHUP for the end of any that was asked for, of reading POLLPRI with it.
    struct pollfd p[2] = {{(int)s->fd, POLLIN, 0}, {(int)s->fd, POLLOUT, 0}};
    if (reasons & CRT_FD_PRIORITY) p[0].events |= POLLPRI;
    if (poll(p, 2, 0) <= 0) return 0;
    int in = p[0].revents, out = p[1].revents;
#ifdef CRT__HALVES_TOLD
    if (in & POLLHUP) in &= ~POLLPRI;
#endif
    uint32_t ready = (in & POLLIN ? CRT__READABLE : 0) | (in & POLLHUP ? CRT__READ_CLOSED : 0) |
                     (in & POLLPRI ? CRT__PRIORITY : 0) | (out & POLLOUT ? CRT__WRITABLE : 0) |
                     (out & POLLHUP ? CRT__WRITE_CLOSED : 0) | ((in | out) & POLLERR ? CRT__IO_ERROR : 0);
    return crt__fd_reasons(s, ready, reasons);
}
#else
static int crt__fd_now(const crt__sock *s, int reasons) { return crt__fd_reasons_now(s->fd, reasons); }
#endif
#ifdef CRT__HALVES_TOLD
static uint32_t crt__fd_flags(crt__fd fd)
{
    struct stat st;
    return fstat((int)fd, &st) || !S_ISSOCK(st.st_mode) ? CRT__SOCK_FILE : 0;
}
#else
static uint32_t crt__fd_flags(crt__fd fd) { return (void)fd, 0; }
#endif
CRTDEF crt_poll crt_fd_ready(crt_cx *cx, intptr_t fd, int reasons)
{
    crt_slot *slot = cx->slot;
    crt__sock *s = slot->op == &crt__op_fd ? slot->object : NULL;
    crt_poll r;
    int now;
    if (!crt__leaf(cx, &crt__op_fd, s)) return CRT_UNWIND;
    if (reasons & ~31) return crt__slot_cancel(slot), crt__refuse(cx, CRT_EINVAL);
    if (s) {
        if ((r = crt__io_resume(cx)) != 0) return r;
    } else {
        if (!cx->rt->reactor) return crt__no_driver(cx, "waiting for a descriptor");
        if (!crt__coop(cx)) return CRT_PENDING;
        if (fd < 0 || fd > INT_MAX) return -EBADF;
        int twin = crt__dup(fd);
        if (twin < 0) return twin;
        if ((r = crt__sock_new(cx->rt, twin, 0, &s)) != 0) return r;
        s->flags = crt__fd_flags(twin);
        if (reasons & CRT_FD_PRIORITY) r = crt__reactor_add_priority(cx->rt->reactor, twin, crt__sock_token(s));
        if (r) return crt__sock_unref(s), r;
        if ((now = crt__fd_now(s, reasons)) != 0) {
            crt__sock_unref(s);
            return now;
        }
    }
    uint32_t asked = CRT__IO_ERROR | CRT__IO_SHUTDOWN, bits;
    if (reasons & CRT_FD_READ) asked |= CRT__FOR_READ;
    if (reasons & CRT_FD_WRITE) asked |= CRT__FOR_WRITE;
    if (reasons & CRT_FD_PRIORITY) asked |= CRT__PRIORITY;
    uint64_t ready;
    for (;;) {
        ready = crt__ready_now(s);
        bits = asked | crt__fd_hangup(s, ready);   // one half of it leaves the other
        if (ready & bits) break;
        if ((r = crt__io_park(cx, s, &crt__op_fd, bits)) != 0) return r;
    }
    slot->op = NULL;
    now = ready & CRT__IO_SHUTDOWN ? CRT_ESHUTDOWN : crt__fd_reasons(s, ready, reasons);
    crt__sock_unref(s);
    return now;
}
CRTDEF crt_poll crt_fd_readable(crt_cx *cx, intptr_t fd)
{
    crt_poll r = crt_fd_ready(cx, fd, CRT_FD_READ);
    return crt__min(r, 0);
}
CRTDEF crt_poll crt_fd_writable(crt_cx *cx, intptr_t fd)
{
    crt_poll r = crt_fd_ready(cx, fd, CRT_FD_WRITE);
    return crt__min(r, 0);
}

// --- datagrams, with the same readiness as streams

static const crt__op crt__op_udp_send = {"udp send", crt__io_cancel};
static const crt__op crt__op_udp_recv = {"udp recv", crt__io_cancel};
static const crt__op crt__op_udp_readable = {"udp readable", crt__io_cancel};
static const crt__op crt__op_udp_writable = {"udp writable", crt__io_cancel};
static const crt__op crt__op_udp_pause = {"udp send (the receiver is full)", crt__io_pause_cancel};

static CRT__OUTLINE int crt__udp_new(crt_cx *cx, int fd, uint32_t flags, crt_udp **u)
{
    crt__sock *s;
    if (fd < 0) return fd;
    int e = crt__sock_new(cx->rt, fd, CRT__WRITABLE, &s);
    if (e) return e;
    s->flags = flags;
    *u = (crt_udp *)s;
    return 0;
}
static const crt_udp_desc crt__udp_defaults;
static CRT__OUTLINE crt__options crt__udp_options(const crt_udp_desc *d)
{
    crt__options o = {d->reuseaddr,   d->reuseport,   d->v6only, d->broadcast,
                      d->send_buffer, d->recv_buffer, d->ttl,    d->tos, d->mode};
    return o;
}
CRTDEF crt_poll crt_udp_bind_ex(crt_cx *cx, const char *addr, const crt_udp_desc *desc, crt_udp **u)
{
    crt_addr a[CRT__RESOLVE_MOST];
    if (!u) return crt__refuse(cx, CRT_EINVAL);
    *u = NULL;
    if (!desc) desc = &crt__udp_defaults;
    crt__options o = crt__udp_options(desc);
    if (!cx->rt->reactor) return crt__no_driver(cx, "crt_udp_bind");
    bool bad = crt__options_bad(&o) || desc->multicast_ttl < 0 || desc->multicast_ttl > 255;
    if (bad) return crt__refuse(cx, CRT_EINVAL);
    crt_poll n = crt_resolve(cx, addr, a, CRT__RESOLVE_MOST), e = n;
    for (crt_poll i = 0; i < n && (i == 0 || e); i++)   // the first that can be had
        e = crt__udp_new(cx, crt__socket_bound(SOCK_DGRAM, &a[i], &o), 0, u);
    if (!e && desc->no_multicast_loop) e = crt_udp_set_multicast_loop(*u, false);
    if (!e && desc->multicast_ttl) e = crt_udp_set_multicast_ttl(*u, desc->multicast_ttl);
    if (e) crt_udp_close(u);
    return e;
}
CRTDEF crt_poll crt_udp_bind(crt_cx *cx, const char *addr, crt_udp **u) { return crt_udp_bind_ex(cx, addr, NULL, u); }
CRTDEF crt_poll crt_unix_dgram_bind(crt_cx *cx, const char *path, const crt_udp_desc *desc, crt_udp **u)
{
    if (!u) return crt__refuse(cx, CRT_EINVAL);
    *u = NULL;
    crt_poll r = crt_consume_budget(cx);
    if (r) return r;
    if (!desc) desc = &crt__udp_defaults;
    crt__options o = crt__udp_options(desc);
    if (!cx->rt->reactor) return crt__no_driver(cx, "crt_unix_dgram_bind");
    if (crt__options_bad(&o)) return CRT_EINVAL;
    bool begun = crt__unix_path_begin(path);
    int fd = path ? crt__unix_bound(SOCK_DGRAM, path, &o, desc->unlink_stale)
                  : crt__socket(AF_UNIX, SOCK_DGRAM);
    int e = crt__udp_new(cx, fd, CRT__SOCK_UNIX, u);
    if (e && fd >= 0 && path) crt__unix_unbind(path);
    crt__unix_path_end(begun);
    if (!e && !path) e = crt__options_set(fd, AF_UNIX, &o);
    if (e) crt_udp_close(u);
    return e;
}
CRTDEF crt_poll crt_unix_dgram_connect(crt_cx *cx, const char *path, crt_udp **u)
{
    if (!u) return crt__refuse(cx, CRT_EINVAL);
    crt_addr a;
    *u = NULL;
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    if (crt_addr_unix(path, &a)) return crt__refuse(cx, CRT_EINVAL);
    crt_poll r = crt_unix_dgram_bind(cx, NULL, NULL, u);
    if (r == 0) r = crt_udp_connect(cx, *u, &a);
    if (r != 0) crt_udp_close(u);
    return r;
}
CRTDEF int crt_unix_dgram_pair(crt_cx *cx, crt_udp **a, crt_udp **b)
{
    if (!a || !b) return CRT_EINVAL;
    int fd[2];
    *a = *b = NULL;
    if (!cx->rt->reactor) return (int)crt__no_driver(cx, "crt_unix_dgram_pair");
    int e = crt__socket_pair(SOCK_DGRAM, fd);
    if (e) return e;
    return crt__sock_new_two(cx->rt, fd, CRT__WRITABLE, CRT__SOCK_UNIX, (crt__sock **)(void *)a,
                             (crt__sock **)(void *)b);
}

#ifndef _WIN32
static void crt__datagram_header(struct msghdr *h, struct iovec *piece, crt_udp_msg *m, bool out)
{
    memset(h, 0, sizeof *h);
    piece->iov_base = m->buf;
    piece->iov_len = m->size;
    h->msg_iov = piece;
    h->msg_iovlen = 1;
    if (out && !m->addr.len) return;
    if (!out) memset(&m->addr, 0, sizeof m->addr);
    h->msg_name = m->addr.u.bytes;
    h->msg_namelen = out ? m->addr.len : sizeof m->addr.u.bytes;
}
static void crt__datagram_done(const struct msghdr *h, crt_udp_msg *m, size_t len, bool out)
{
    m->len = len;
    if (out) return;
    m->addr.len = h->msg_namelen;
    m->flags = h->msg_flags & MSG_TRUNC ? CRT_UDP_TRUNCATED : 0;
}
// Where the system has no call for several: one by one.
static CRT__COLD intptr_t crt__datagrams_singly(crt__fd fd, bool out, crt_udp_msg *msgs, size_t count)
{
    struct msghdr h;
    struct iovec piece;
    for (size_t i = 0; i < count; i++) {
        crt__datagram_header(&h, &piece, &msgs[i], out);
        intptr_t k = out ? sendmsg((int)fd, &h, CRT__NOSIGNAL) : recvmsg((int)fd, &h, 0);
        if (k < 0) return i ? (intptr_t)i : k;
        crt__datagram_done(&h, &msgs[i], (size_t)k, out);
    }
    return (intptr_t)count;
}
#endif
// One call for all: a second would use up the error that came after the first.
static intptr_t crt__datagrams(crt__fd fd, bool out, crt_udp_msg *msgs, size_t count)
{
    count = crt__min(count, CRT__DATAGRAMS);
    intptr_t k = out ? crt__sock_send_many(fd, msgs, count) : crt__sock_recv_many(fd, msgs, count);
#ifndef _WIN32
    if (k < 0 && errno == ENOSYS) return crt__datagrams_singly(fd, out, msgs, count);
#endif
    return k;
}
static intptr_t crt__datagram(crt__fd fd, uint32_t how, void *buf, size_t n, crt_addr *a)
{
    socklen_t len = sizeof a->u.bytes;
    if (how & CRT__PIECES) return crt__datagrams(fd, (how & CRT__OUT) != 0, buf, n);
    if (how & CRT__OUT) {
        len = a ? (socklen_t)a->len : 0;
        return crt__os_sendto((int)fd, buf, n, CRT__NOSIGNAL, a ? crt__sockaddr(a) : NULL, len);
    }
    int flags = how & CRT__PEEK ? MSG_PEEK : 0;
    if (!a) return crt__os_recvfrom((int)fd, buf, n, flags, NULL, NULL);
    memset(a, 0, sizeof *a);
    intptr_t k = crt__os_recvfrom((int)fd, buf, n, flags, crt__sockaddr(a), &len);
    a->len = k < 0 ? 0 : (uint32_t)len;
    return k;
}
// A Unix socket without a name is reported as no address at all.
static void crt__name_sender(crt_addr *a)
{
    if (!a || a->len) return;
    crt__sockaddr(a)->sa_family = AF_UNIX;
    a->len = CRT__UNIX_PATH;
}
static void crt__name_senders(uint32_t how, void *buf, intptr_t k, crt_addr *a)
{
    if (how & CRT__OUT) return;
    if (!(how & CRT__PIECES)) crt__name_sender(a);
    else for (intptr_t i = 0; i < k; i++) crt__name_sender(&((crt_udp_msg *)buf)[i].addr);
}
// A Unix socket whose receiver is full: with EAGAIN the system tells when there is room again, if the
// receiver is the fixed peer. The BSDs say ENOBUFS, and tell of nothing.
#ifdef CRT_PLATFORM_KQUEUE_H
enum { CRT__UNIX_FULL = ENOBUFS, CRT__UNIX_TELLS = 0 };
#else
enum { CRT__UNIX_FULL = EAGAIN, CRT__UNIX_TELLS = 1 };
#endif
// CRT__PIECES: buf is an array of n crt_udp_msg.
static crt_poll crt__udp_try(crt__sock *s, uint32_t how, void *buf, size_t n, crt_addr *a)
{
    uint64_t seen = crt__atomic_load(&s->ready, CRT__ACQUIRE);
    if (seen & CRT__IO_SHUTDOWN) return CRT_ESHUTDOWN;
    for (;;) {
        intptr_t k = crt__datagram(s->fd, how, buf, n, a);
        if (k >= 0) {
            if (s->flags & CRT__SOCK_UNIX) crt__name_senders(how, buf, k, a);
            return k;
        }
        if (errno == EINTR) continue;
        bool full = (how & CRT__OUT) && (s->flags & CRT__SOCK_UNIX) && errno == CRT__UNIX_FULL;
        if (!full && !crt__would_block(errno)) return -errno;
        crt__ready_clear(s, seen, how & CRT__OUT ? CRT__FOR_WRITE : CRT__FOR_READ);
        return CRT_EAGAIN;
    }
}
// A Unix socket that names its receiver is writable, and yet the receiver may be full:
// no event tells when it no longer is. 0: try again now.
static CRT__COLD crt_poll crt__udp_pause(crt_cx *cx, crt__sock *s, uint32_t generation, size_t n)
{
    crt_instant now = crt__rt_now(cx->rt);
    crt_poll r = crt__has_time(cx->rt) ? 0 : crt__no_time(cx->rt, "a Unix datagram to a receiver that is full");
    crt__sock_lock(s);
    bool ours = crt__sock_generation(s) == generation;   // another's, who would be told of what is not so
    crt__sock_unlock_as(s, crt__sock_word(s) | (ours ? CRT__WRITABLE : 0));
    if (!r) r = crt__io_pause(cx, s, &crt__op_udp_pause, now, CRT_MS(2), n);
    return r == 0 || r == CRT_PENDING ? r : (crt__io_end(s, cx->slot), CRT_EAGAIN);
}
static crt_poll crt__udp_go_on(crt_cx *cx, crt__sock *s, uint32_t how, void *buf, size_t n, crt_addr *a)
{
    const crt__op *op = how & CRT__OUT ? &crt__op_udp_send : &crt__op_udp_recv;
    uint32_t bits = how & CRT__OUT ? CRT__FOR_WRITE : CRT__FOR_READ;
    crt_slot *slot = cx->slot;
    crt_poll r;
    bool untold = (how & CRT__OUT) && (s->flags & CRT__SOCK_UNIX) &&
                  (!CRT__UNIX_TELLS || (how & CRT__PIECES ? ((const crt_udp_msg *)buf)->addr.len > 0 : a != NULL));
    uint32_t generation = slot->op ? crt__wait_generation(slot) : crt__sock_generation(s);
    for (;;) {
        if (!(crt__ready_now(s) & bits)) {
            r = crt__io_park(cx, s, op, bits);
            slot->value = n;
            if (r != 0) return r;
            continue;
        }
        r = crt__udp_try(s, how, buf, n, a);
        if (r == CRT_EAGAIN && untold) {
            if ((r = crt__udp_pause(cx, s, generation, n)) != 0) return r;
            continue;
        }
        if (r == CRT_EAGAIN) continue;
        crt__io_end(s, slot);
        return r;
    }
}
static crt_poll crt__udp_transfer(crt_cx *cx, crt__sock *s, uint32_t how, void *buf, size_t n, crt_addr *a)
{
    const crt__op *op = how & CRT__OUT ? &crt__op_udp_send : &crt__op_udp_recv;
    crt_slot *slot = cx->slot;
    crt_poll r;
    if (slot->op == &crt__op_udp_pause && !cx->unwind && !crt__io_pause_ended(slot, op)) return CRT_PENDING;
    s = crt__sock_of(slot, op, s);
    if (!crt__leaf(cx, op, s)) return CRT_UNWIND;
    if (!s || (n && !buf)) return crt__slot_cancel(slot), crt__refuse(cx, CRT_EINVAL);
    if (slot->op) {
        if ((r = crt__io_resume(cx)) != 0) return r;
        n = (size_t)slot->value;   // that of the first poll, as for streams
    } else if (!crt__coop(cx)) {
        crt__io_hold(cx, s, op, n);
        return CRT_PENDING;
    }
    if (!n && (how & CRT__PIECES)) return crt__io_end(s, slot), 0;
    bool held = slot->op != NULL;
    if (held && !crt__io_hold_open(cx, s)) return CRT_ECLOSED;
    r = crt__udp_go_on(cx, s, how, buf, n, a);
    if (held) crt__sock_unref(s);
    return r;
}
CRTDEF crt_poll crt_udp_send_to(crt_cx *cx, crt_udp *u, const void *buf, size_t n, const crt_addr *to)
{
    crt_addr a;
    if (!to) return crt__refuse(cx, CRT_EINVAL);
    a = *to;
    return crt__udp_transfer(cx, (crt__sock *)u, CRT__OUT, crt__unconst(buf), n, &a);
}
CRTDEF crt_poll crt_udp_recv_from(crt_cx *cx, crt_udp *u, void *buf, size_t n, crt_addr *from)
{
    return crt__udp_transfer(cx, (crt__sock *)u, CRT__IN, buf, n, from);
}
CRTDEF crt_poll crt_udp_send(crt_cx *cx, crt_udp *u, const void *buf, size_t n)
{
    return crt__udp_transfer(cx, (crt__sock *)u, CRT__OUT, crt__unconst(buf), n, NULL);
}
CRTDEF crt_poll crt_udp_recv(crt_cx *cx, crt_udp *u, void *buf, size_t n)
{
    return crt__udp_transfer(cx, (crt__sock *)u, CRT__IN, buf, n, NULL);
}
CRTDEF crt_poll crt_udp_peek_from(crt_cx *cx, crt_udp *u, void *buf, size_t n, crt_addr *from)
{
    return crt__udp_transfer(cx, (crt__sock *)u, CRT__PEEK, buf, n, from);
}
CRTDEF crt_poll crt_udp_recv_many(crt_cx *cx, crt_udp *u, crt_udp_msg *msgs, size_t count)
{
    return crt__udp_transfer(cx, (crt__sock *)u, CRT__PIECES, msgs, count, NULL);
}
CRTDEF crt_poll crt_udp_send_many(crt_cx *cx, crt_udp *u, crt_udp_msg *msgs, size_t count)
{
    return crt__udp_transfer(cx, (crt__sock *)u, CRT__PIECES | CRT__OUT, msgs, count, NULL);
}
CRTDEF crt_poll crt_udp_readable(crt_cx *cx, crt_udp *u)
{
    return crt__io_ready(cx, (crt__sock *)u, &crt__op_udp_readable, CRT__FOR_READ);
}
CRTDEF crt_poll crt_udp_writable(crt_cx *cx, crt_udp *u)
{
    return crt__io_ready(cx, (crt__sock *)u, &crt__op_udp_writable, CRT__FOR_WRITE);
}
static crt_poll crt__udp_try_now(crt_udp *u, uint32_t how, void *buf, size_t n, crt_addr *a)
{
    if (!u || (n && !buf)) return CRT_EINVAL;
    return n || !(how & CRT__PIECES) ? crt__udp_try((crt__sock *)u, how, buf, n, a) : 0;   // of no pieces: none
}
CRTDEF crt_poll crt_udp_try_send_to(crt_udp *u, const void *buf, size_t n, const crt_addr *to)
{
    crt_addr a;
    if (to) a = *to;
    return crt__udp_try_now(u, CRT__OUT, crt__unconst(buf), n, to ? &a : NULL);
}
CRTDEF crt_poll crt_udp_try_recv_from(crt_udp *u, void *buf, size_t n, crt_addr *from)
{
    return crt__udp_try_now(u, CRT__IN, buf, n, from);
}
CRTDEF crt_poll crt_udp_try_recv_many(crt_udp *u, crt_udp_msg *msgs, size_t count)
{
    return crt__udp_try_now(u, CRT__PIECES, msgs, count, NULL);
}
CRTDEF crt_poll crt_udp_try_send_many(crt_udp *u, crt_udp_msg *msgs, size_t count)
{
    return crt__udp_try_now(u, CRT__PIECES | CRT__OUT, msgs, count, NULL);
}
// Of datagrams: done at once, and the same when done twice.
static CRT__COLD int crt__udp_peer(crt_udp *u, crt_addr *a, socklen_t size)
{
    int r;
    while ((r = crt__os_connect((int)crt__fd_of(u), crt__sockaddr(a), size)) < 0 && errno == EINTR) {}
    return r < 0 ? -errno : 0;
}
CRTDEF crt_poll crt_udp_connect(crt_cx *cx, crt_udp *u, const crt_addr *to)
{
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    if (!u || !to) return crt__refuse(cx, CRT_EINVAL);
    crt_addr a = *to;
    return crt__refuse(cx, crt__udp_peer(u, &a, (socklen_t)a.len));   // as crt_shutdown
}
CRTDEF int crt_udp_disconnect(crt_udp *u)
{
    crt_addr nobody;
    if (!u) return CRT_EINVAL;
    memset(&nobody, 0, sizeof nobody);
#ifdef _WIN32   // the address that is all zero, of the socket's own family
    crt__sockaddr(&nobody)->sa_family = (ADDRESS_FAMILY)crt__fd_family(crt__fd_of(u));
    int size = crt__family(&nobody) == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
#else
    crt__sockaddr(&nobody)->sa_family = AF_UNSPEC;
    socklen_t size = sizeof(struct sockaddr);
#endif
    crt_addr was, now;
    int e = crt_udp_local_addr(u, &was);
    if (!e) e = crt__udp_peer(u, &nobody, (socklen_t)size);
#ifdef CRT_PLATFORM_KQUEUE_H   // there it disconnects, and then says so
    if (e == -EAFNOSUPPORT || e == -EINVAL) e = 0;
#endif
    // Linux takes the port from one that was bound to port 0, and whoever knows it would reach nobody.
    if (e || !crt_addr_port(&was) || crt_udp_local_addr(u, &now) || crt_addr_port(&now)) return e;
    ((struct sockaddr_in *)(void *)now.u.bytes)->sin_port = crt__in4(&was)->sin_port;   // in the same place for IPv6
    return crt__os_bind((int)crt__fd_of(u), crt__sockaddr(&now), (socklen_t)now.len) ? -errno : 0;
}
CRTDEF int crt_udp_set_broadcast(crt_udp *u, bool on)
{
    return crt__set_option(crt__fd_of(u), SOL_SOCKET, SO_BROADCAST, on);
}
CRTDEF int crt_udp_get_broadcast(const crt_udp *u) { return crt__get_flag(crt__fd_of(u), SOL_SOCKET, SO_BROADCAST); }
CRTDEF int crt_udp_set_recv_buffer(crt_udp *u, int bytes) { return crt__set_buffer(crt__fd_of(u), SO_RCVBUF, bytes); }
CRTDEF int crt_udp_get_recv_buffer(const crt_udp *u) { return crt__get_option(crt__fd_of(u), SOL_SOCKET, SO_RCVBUF); }
CRTDEF int crt_udp_set_send_buffer(crt_udp *u, int bytes) { return crt__set_buffer(crt__fd_of(u), SO_SNDBUF, bytes); }
CRTDEF int crt_udp_get_send_buffer(const crt_udp *u) { return crt__get_option(crt__fd_of(u), SOL_SOCKET, SO_SNDBUF); }
CRTDEF int crt_udp_set_ttl(crt_udp *u, int ttl) { return crt__set_ttl(crt__fd_of(u), ttl); }
CRTDEF int crt_udp_get_ttl(const crt_udp *u) { return crt__get_ip_option(crt__fd_of(u), IP_TTL, IPV6_UNICAST_HOPS); }
CRTDEF int crt_udp_set_tos(crt_udp *u, int tos) { return crt__set_tos(crt__fd_of(u), tos); }
CRTDEF int crt_udp_get_tos(const crt_udp *u) { return crt__get_ip_option(crt__fd_of(u), IP_TOS, IPV6_TCLASS); }
CRTDEF int crt_udp_take_error(crt_udp *u) { return crt__take_error(crt__fd_of(u)); }

// --- multicast, by the calls that are the same for IPv4 and IPv6 (RFC 3678)

#ifndef CRT_PLATFORM_KQUEUE_H   // which has it in the older form, by IPv4 and IPv6
static int crt__sock_membership(crt__fd fd, const crt_addr *group, uint32_t ifindex, bool join)
{
    struct group_req q;
    memset(&q, 0, sizeof q);
    q.gr_interface = ifindex;
    memcpy(&q.gr_group, group->u.bytes, group->len);
    int level = crt__family(group) == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
    return crt__os_setsockopt((int)fd, level, join ? MCAST_JOIN_GROUP : MCAST_LEAVE_GROUP, &q, sizeof q) ? -errno : 0;
}
#endif
static int crt__udp_membership(crt_udp *u, const crt_addr *group, uint32_t ifindex, bool join)
{
    if (!u || !group || group->len > sizeof(struct sockaddr_storage)) return CRT_EINVAL;
    int family = crt__family(group);
    if (family != AF_INET && family != AF_INET6) return CRT_EINVAL;
    return crt__sock_membership(crt__fd_of(u), group, ifindex, join);
}
CRTDEF int crt_udp_join(crt_udp *u, const crt_addr *group, uint32_t ifindex)
{
    return crt__udp_membership(u, group, ifindex, true);
}
CRTDEF int crt_udp_leave(crt_udp *u, const crt_addr *group, uint32_t ifindex)
{
    return crt__udp_membership(u, group, ifindex, false);
}
CRTDEF int crt_udp_set_multicast_loop(crt_udp *u, bool on)
{
    return crt__set_multicast(crt__fd_of(u), IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP, on);
}
CRTDEF int crt_udp_get_multicast_loop(const crt_udp *u)
{
    return crt__get_multicast(crt__fd_of(u), IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP);
}
CRTDEF int crt_udp_set_multicast_ttl(crt_udp *u, int ttl)
{
    if (ttl < 0 || ttl > 255) return CRT_EINVAL;
    return crt__set_multicast(crt__fd_of(u), IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS, ttl);
}
CRTDEF int crt_udp_get_multicast_ttl(const crt_udp *u)
{
    return crt__get_multicast(crt__fd_of(u), IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS);
}
CRTDEF int crt_udp_set_multicast_interface(crt_udp *u, uint32_t ifindex)
{
    crt__fd fd = crt__fd_of(u);
    int family = crt__fd_family(fd);
    if (family < 0) return family;
    if (ifindex > INT_MAX) return CRT_EINVAL;
    if (family == AF_INET6) return crt__set_option(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int)ifindex);
    if (family != AF_INET) return -EOPNOTSUPP;
    return crt__sock_multicast_interface(fd, ifindex);
}
CRTDEF int crt_udp_local_addr(const crt_udp *u, crt_addr *a)
{
    return crt__name(crt__fd_of(u), a, crt__os_getsockname);
}
CRTDEF int crt_udp_peer_addr(const crt_udp *u, crt_addr *a) { return crt__name(crt__fd_of(u), a, crt__os_getpeername); }
CRTDEF void crt_udp_close(crt_udp **u) { crt_stream_close((crt_stream **)(void *)u); }
#endif   // CRT_NO_NET

// ---------------------------------------------------------------------------
// >>streams       in memory, scripted, buffered, copying, frames, standard
// ---------------------------------------------------------------------------
// A stream in memory is a record as a socket's (>>io), whose readiness its peer keeps:
// it adds bits, as an event of the reactor would, whenever an operation that was told
// CRT_EAGAIN, or was short, would now do better. So all that waits is that of sockets.
//
// What the buffered reader, the writer and the copies wait for is always one leaf,
// crt_read or crt_write; their progress is in their struct. A call that finds that leaf
// parked in the slot goes on with what its first poll was given.

#ifndef CRT_NO_NET

// A record for a stream without a descriptor; NULL: no memory.
static crt__sock *crt__soft_attach(crt_runtime *rt, crt__soft *soft, uint32_t ready)
{
    crt__sock *s = crt__sock_alloc(rt);
    if (!s) return NULL;
    crt__atomic_add(&rt->refs, 1, CRT__RELAXED);
    s->fd = -1;
    s->u.soft = soft;
    s->flags = s->pause_ms = 0;
    crt__atomic_store(&s->spent, 0, CRT__RELAXED);
    crt__ready_set(s, ready | CRT__IO_SOFT);
    crt__atomic_store(&s->refs, 1, CRT__RELEASE);
    if (CRT__UNLIKELY(crt__atomic_load(&rt->ended, CRT__RELAXED))) crt__ready_set(s, CRT__IO_SHUTDOWN);
    return s;
}

// --- duplex: two lanes under one lock. An end may only be touched while it is open:
// events go out after the lock, by token, so that they miss one that has gone.

typedef struct crt__lane {   // what one end reads
    unsigned char *data;
    size_t head, count;
    bool ended;    // nothing more comes
    bool broken;   // nobody reads it any more
} crt__lane;
typedef struct crt__duplex {
    crt__soft soft;
    crt_runtime *rt;
    size_t capacity;
    uint64_t token[2];
    uint32_t lock, open;
    crt__lane lane[2];
} crt__duplex;

static crt__duplex *crt__duplex_of(crt__sock *s, int *end)
{
    crt__duplex *d = (crt__duplex *)s->u.soft;
    *end = s->index != (uint32_t)d->token[0];
    return d;
}
static size_t crt__duplex_bytes(size_t capacity) { return sizeof(crt__duplex) + 2 * capacity; }

static crt_poll crt__duplex_recv(crt__sock *s, void *buf, size_t n, bool peek)
{
    int me;
    crt__duplex *d = crt__duplex_of(s, &me);
    crt__lane *lane = &d->lane[me];
    crt__lock(&d->lock);
    size_t k = crt__min(n, lane->count), first = crt__min(k, d->capacity - lane->head);
    bool was_full = lane->count == d->capacity, ended = lane->ended;
    memcpy(buf, lane->data + lane->head, first);
    memcpy((char *)buf + first, lane->data, k - first);
    if (!peek) {
        lane->head = (lane->head + k) % d->capacity;
        lane->count -= k;
    }
    crt__unlock(&d->lock);
    if (!k) return ended ? 0 : CRT_EAGAIN;
    if (was_full && !peek) crt__sock_event(d->rt, d->token[!me], CRT__WRITABLE);
    return (crt_poll)k;
}
static crt_poll crt__duplex_send(crt__sock *s, const void *buf, size_t n)
{
    int me;
    crt__duplex *d = crt__duplex_of(s, &me);
    crt__lane *lane = &d->lane[!me];
    crt__lock(&d->lock);
    bool refused = lane->ended || lane->broken, was_empty = lane->count == 0;
    size_t k = refused ? 0 : crt__min(n, d->capacity - lane->count);
    size_t at = (lane->head + lane->count) % d->capacity, first = crt__min(k, d->capacity - at);
    memcpy(lane->data + at, buf, first);
    memcpy(lane->data, (const char *)buf + first, k - first);
    lane->count += k;
    crt__unlock(&d->lock);
    if (!k) return refused ? -EPIPE : CRT_EAGAIN;
    if (was_empty) crt__sock_event(d->rt, d->token[!me], CRT__READABLE);
    return (crt_poll)k;
}
// What was written before can still be read, whichever side shuts the lane.
static int crt__duplex_shutdown(crt__sock *s, int how)
{
    int me;
    crt__duplex *d = crt__duplex_of(s, &me);
    int reader = how == CRT__SHUT_RD ? me : !me;
    crt__lock(&d->lock);
    d->lane[reader].ended = true;
    if (how == CRT__SHUT_RD) d->lane[me].broken = true;
    crt__unlock(&d->lock);
    crt__sock_event(d->rt, d->token[reader], CRT__READABLE | CRT__READ_CLOSED);
    crt__sock_event(d->rt, d->token[!reader], CRT__WRITABLE | CRT__WRITE_CLOSED);
    return 0;
}
static void crt__duplex_close(crt__sock *s)
{
    int me;
    crt__duplex *d = crt__duplex_of(s, &me);
    crt_runtime *rt = d->rt;
    crt__lock(&d->lock);
    uint64_t peer = d->token[!me];
    d->lane[!me].ended = d->lane[me].broken = true;
    bool last = --d->open == 0;
    crt__unlock(&d->lock);
    if (last) crt__free(rt, d, crt__duplex_bytes(d->capacity));
    else crt__sock_event(rt, peer, CRT__READABLE | CRT__READ_CLOSED | CRT__WRITABLE | CRT__WRITE_CLOSED);
}
static const crt__soft_ops crt__duplex_ops = {crt__duplex_recv, crt__duplex_send, crt__duplex_shutdown,
                                              crt__duplex_close, true, NULL};

CRTDEF int crt_duplex(crt_cx *cx, size_t capacity, crt_stream **a, crt_stream **b)
{
    crt_runtime *rt = cx->rt;
    if (!a || !b) return CRT_EINVAL;
    *a = *b = NULL;
    if (!capacity) return CRT_EINVAL;
    if (capacity > SIZE_MAX / 4) return CRT_ENOMEM;
    crt__duplex *d = crt__alloc(rt, crt__duplex_bytes(capacity));
    if (!d) return CRT_ENOMEM;
    memset(d, 0, sizeof *d);
    d->soft.ops = &crt__duplex_ops;
    d->rt = rt;
    d->capacity = capacity;
    d->open = 2;
    for (int i = 0; i < 2; i++) {
        d->lane[i].data = (unsigned char *)(d + 1) + (size_t)i * capacity;
        crt__sock *s = crt__soft_attach(rt, &d->soft, CRT__WRITABLE);
        if (s) d->token[i] = crt__sock_token(s);
        *(i ? b : a) = (crt_stream *)s;
    }
    if (*a && *b) return 0;
    d->open = (*a ? 1u : 0) + (*b ? 1u : 0);
    if (!d->open) crt__free(rt, d, crt__duplex_bytes(capacity));
    crt_close(a);
    crt_close(b);
    return CRT_ENOMEM;
}

// --- mock: a script under a lock. `at` is the first step that is not done; writes may be
// done before it. A wait is a task that sleeps and then goes on to the next step.

typedef struct crt__mock_step {
    crt_mock_step step;       // data and n shrink as they are used
    bool done;
    crt_join_handle *clock;   // the task that sleeps for this step and waits that follow
} crt__mock_step;
typedef struct crt__mock {
    crt__soft soft;
    crt_runtime *rt;
    uint64_t token;
    uint32_t lock, refs;       // refs: the stream's and the sleeping task's; atomic
    int error;                 // what everything gives from now on
    bool waits, ended, deaf;   // a task sleeps; no more writes; no more reads
    size_t at, count, bytes;
    char name[32];
    crt__mock_step steps[];
} crt__mock;
typedef struct crt__mock_clock {
    crt_frame co;
    crt__mock *m;
    crt_poll r;
} crt__mock_clock;

static void crt__mock_unref(crt__mock *m)
{
    crt_runtime *rt = m->rt;
    if (crt__atomic_sub(&m->refs, 1, CRT__ACQ_REL) == 1) crt__free(rt, m, m->bytes);
}
// The step that is current; NULL: all are done. Under the lock.
static crt__mock_step *crt__mock_current(crt__mock *m)
{
    while (m->at < m->count && m->steps[m->at].done) m->at++;
    return m->at < m->count ? &m->steps[m->at] : NULL;
}
static CRT__COLD crt_poll crt__mock_clock_run(void *frame, crt_cx *cx)
{
    crt__mock_clock *self = frame;
    crt__mock *m = self->m;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = crt_sleep(cx, m->steps[m->at].step.wait));   // `at` stays while it waits
        crt__lock(&m->lock);
        if (self->r < 0) m->error = (int)self->r;
        m->steps[m->at].done = true;
        crt__mock_step *next = crt__mock_current(m);
        m->waits = next && next->step.kind == CRT__MOCK_WAIT && !m->error;
        bool again = m->waits;
        crt__unlock(&m->lock);
        crt__sock_event(m->rt, m->token, CRT__READABLE | CRT__WRITABLE);
        if (!again) break;
    }
    CRT_FINALLY
        crt__mock_unref(m);
    CRT_END;
}
// A step has been done: the next may be a wait, which begins now. Lets go of the lock.
static CRT__COLD void crt__mock_step_on(crt__mock *m)
{
    crt__mock_step *next = crt__mock_current(m);
    bool wait = next && next->step.kind == CRT__MOCK_WAIT;
    CRT_ASSERT(!wait || (!m->waits && !m->error));   // during a wait, and after an error, no step ends
    if (wait) {
        m->waits = true;
        crt__atomic_add(&m->refs, 1, CRT__RELAXED);
    }
    crt__unlock(&m->lock);
    if (wait) {
        crt_join_handle *clock;
        crt__mock_clock frame = {.m = m};
        int e = crt_handle_spawn_join((crt_handle *)m->rt, &clock, crt__mock_clock_run, &frame);
        crt__lock(&m->lock);
        if (e) m->error = e;
        next->clock = clock;
        crt__unlock(&m->lock);
        if (e) crt__mock_unref(m);
    }
    crt__sock_event(m->rt, m->token, CRT__READABLE | CRT__WRITABLE);
}
static CRT__COLD crt_poll crt__mock_recv(crt__sock *s, void *buf, size_t n, bool peek)
{
    crt__mock *m = (crt__mock *)s->u.soft;
    crt__lock(&m->lock);
    crt__mock_step *x = crt__mock_current(m);
    crt_poll k = m->error ? m->error : x && !m->deaf ? CRT_EAGAIN : 0;
    if (k != CRT_EAGAIN || (x->step.kind != CRT__MOCK_READ && x->step.kind != CRT__MOCK_READ_ERROR)) {
        crt__unlock(&m->lock);
        return k;
    }
    if (x->step.kind == CRT__MOCK_READ_ERROR) {
        k = x->step.error;
        x->done = !peek;
    } else {
        n = crt__min(n, x->step.n);
        memcpy(buf, x->step.data, n);
        if (peek) {
            crt__unlock(&m->lock);
            return (crt_poll)n;
        }
        x->step.data = (const char *)x->step.data + n;
        x->step.n -= n;
        x->done = !x->step.n;
        k = (crt_poll)n;
    }
    if (x->done) crt__mock_step_on(m);
    else crt__unlock(&m->lock);
    return k;
}
// Bytes as C text, cut off when long.
static const char *crt__quote(char *out, size_t room, const void *data, size_t n)
{
    size_t at = 1;
    out[0] = '"';
    for (size_t i = 0; i < n; i++) {
        unsigned c = ((const unsigned char *)data)[i];
        const char *named = c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : c == '"' ? "\\\"" : NULL;
        if (c == '\\') named = "\\\\";
        if (at + 10 > room) {
            memcpy(out + at, "...", 4);
            return out;
        }
        if (named) at += (size_t)snprintf(out + at, room - at, "%s", named);
        else if (c < 32 || c > 126) at += (size_t)snprintf(out + at, room - at, "\\%03o", c);
        else out[at++] = (char)c;
    }
    memcpy(out + at, "\"", 2);
    return out;
}
// What was written is not what step x says; NULL: no step says anything.
static CRT__COLD void crt__mock_complain(crt__mock *m, const crt__mock_step *x, const void *buf, size_t n)
{
    char want[160], came[160];
    size_t same = 0;
    crt__quote(came, sizeof came, buf, n);
    if (!x) {
        crt__say(m->rt, CRT_LOG_ERROR, "mock %s: no write was expected any more, but %s came", m->name, came);
        return;
    }
    while (((const char *)buf)[same] == ((const char *)x->step.data)[same]) same++;
    crt__quote(want, sizeof want, x->step.data, x->step.n);
    crt__say(m->rt, CRT_LOG_ERROR, "mock %s: step %zu of %zu expected the write %s, but %s came; byte %zu differs",
             m->name, (size_t)(x - m->steps) + 1, m->count, want, came, same);
}
static CRT__COLD crt_poll crt__mock_send(crt__sock *s, const void *buf, size_t n)
{
    crt__mock *m = (crt__mock *)s->u.soft;
    crt_poll k = CRT_EAGAIN;
    crt__lock(&m->lock);
    crt__mock_step *x = crt__mock_current(m), *end = m->steps + m->count;
    if (m->error || m->ended || !x) {
        k = m->error ? m->error : -EPIPE;
        crt__unlock(&m->lock);
        return k;
    }
    while (x < end && (x->done || x->step.kind == CRT__MOCK_READ || x->step.kind == CRT__MOCK_READ_ERROR)) x++;
    if (x == end) {
        k = CRT_EPROTO;
    } else if (x->step.kind == CRT__MOCK_WRITE_ERROR) {
        k = x->step.error;
        x->done = true;
    } else if (x->step.kind == CRT__MOCK_WRITE) {
        size_t most = crt__min(n, x->step.n);
        k = memcmp(buf, x->step.data, most) ? CRT_EPROTO : (crt_poll)most;
        if (k > 0) {
            x->step.data = (const char *)x->step.data + most;
            x->step.n -= most;
            x->done = !x->step.n;
        }
    }
    bool wrong = k == CRT_EPROTO && (x == end || !x->done);
    if (wrong) m->error = CRT_EPROTO;   // nothing changes from here on
    if (k == CRT_EAGAIN) crt__unlock(&m->lock);
    else crt__mock_step_on(m);
    if (wrong) crt__mock_complain(m, x == end ? NULL : x, buf, n);
    return k;
}
static CRT__COLD int crt__mock_shutdown(crt__sock *s, int how)
{
    crt__mock *m = (crt__mock *)s->u.soft;
    crt__lock(&m->lock);
    if (how == CRT__SHUT_RD) m->deaf = true;
    else m->ended = true;
    crt__unlock(&m->lock);
    crt__sock_event(m->rt, m->token, CRT__READABLE | CRT__WRITABLE);
    return 0;
}
// Steps left, waits apart; *next is the first of them. Under the lock.
static int crt__mock_count(crt__mock *m, crt__mock_step **next)
{
    int n = 0;
    *next = NULL;
    for (size_t i = m->at; i < m->count; i++) {
        if (m->steps[i].done || m->steps[i].step.kind == CRT__MOCK_WAIT) continue;
        if (!n++) *next = &m->steps[i];
    }
    return n;
}
static CRT__COLD void crt__mock_close(crt__sock *s)
{
    static const char *const names[] = {"", "read", "write", "read error", "write error"};
    crt__mock *m = (crt__mock *)s->u.soft;
    crt__mock_step *next;
    char text[160];
    crt__lock(&m->lock);
    int left = crt__mock_count(m, &next);
    bool failed = m->error != 0;   // that has been told
    crt__unlock(&m->lock);
    if (left && !failed) {
        const char *what = names[next->step.kind], *with = crt_strerror(next->step.error);
        if (next->step.n) with = crt__quote(text, sizeof text, next->step.data, next->step.n);
        crt__say(m->rt, CRT_LOG_ERROR, "mock %s: closed with %d of %zu steps left; the next is number %zu, %s %s",
                 m->name, left, m->count, (size_t)(next - m->steps) + 1, what, with);
    }
    for (size_t i = 0; i < m->count; i++) {
        crt_abort(m->steps[i].clock);
        crt_detach(&m->steps[i].clock);
    }
    crt__mock_unref(m);
}
static const crt__soft_ops crt__mock_ops = {crt__mock_recv, crt__mock_send, crt__mock_shutdown, crt__mock_close,
                                            false, NULL};

static CRT__COLD bool crt__mock_allows(const crt_mock_step *x)
{
    switch (x->kind) {
    case CRT__MOCK_READ:
    case CRT__MOCK_WRITE: return x->data && x->n;
    case CRT__MOCK_READ_ERROR:
    case CRT__MOCK_WRITE_ERROR: return x->error < 0 && x->error != CRT_EAGAIN;
    case CRT__MOCK_WAIT: return x->wait >= 0;
    default: return false;
    }
}
CRTDEF int crt_mock_new(crt_cx *cx, const char *name, const crt_mock_step *steps, size_t n, crt_stream **out)
{
    if (!out) return CRT_EINVAL;
    size_t data = 0;
    *out = NULL;
    if (n && !steps) return CRT_EINVAL;
    for (size_t i = 0; i < n; i++) {
        if (!crt__mock_allows(&steps[i])) return CRT_EINVAL;
        data += steps[i].n;
    }
    size_t head = sizeof(crt__mock) + n * sizeof(crt__mock_step);
    crt__mock *m = crt__alloc_zero(cx->rt, head + data);
    if (!m) return CRT_ENOMEM;
    m->bytes = head + data;
    m->soft.ops = &crt__mock_ops;
    m->rt = cx->rt;
    m->refs = 1;
    m->count = n;
    snprintf(m->name, sizeof m->name, "%s", name ? name : "stream");
    char *copy = (char *)m + head;
    for (size_t i = 0; i < n; i++) {
        m->steps[i].step = steps[i];
        if (!steps[i].n) continue;
        m->steps[i].step.data = memcpy(copy, steps[i].data, steps[i].n);
        copy += steps[i].n;
    }
    crt__sock *s = crt__soft_attach(cx->rt, &m->soft, CRT__READABLE | CRT__WRITABLE);
    if (!s) {
        crt__free(cx->rt, m, m->bytes);
        return CRT_ENOMEM;
    }
    m->token = crt__sock_token(s);
    crt__lock(&m->lock);
    crt__mock_step_on(m);
    *out = (crt_stream *)s;
    return 0;
}
CRTDEF int crt_mock_left(const crt_stream *stream)
{
    crt__sock *s = (crt__sock *)(uintptr_t)stream;
    crt__mock_step *next;
    if (!s || !crt__sock_is_soft(s) || s->u.soft->ops != &crt__mock_ops) return CRT_EINVAL;
    crt__mock *m = (crt__mock *)s->u.soft;
    crt__lock(&m->lock);
    int left = m->error ? m->error : crt__mock_count(m, &next);
    crt__unlock(&m->lock);
    return left;
}

// --- what the helpers share

enum { CRT__STREAM_BUFFER = 8192 };

// Is this call going on, its leaf parked in the slot?
static bool crt__goes_on(crt_cx *cx, const crt__op *op, crt_stream *s)
{
    return cx->slot->op == op && cx->slot->object == (void *)s;
}

// The result of a call that needs no leaf. It takes of the budget; where none is left it is held
// as a leaf would be, so that the next poll goes on with what was given to this one.
static crt_poll crt__ends_now(crt_cx *cx, const crt__op *op, crt_stream *stream, crt_poll r)
{
    crt__sock *s = (crt__sock *)stream;
    (void)crt__leaf(cx, op, s);   // an unwind has been taken before; another wait that is parked there goes
    if (!crt__coop(cx)) {
        crt__io_hold(cx, s, op, (uint64_t)1 << 32);
        return CRT_PENDING;
    }
    crt__io_end(s, cx->slot);
    return r;
}

// --- buffered reader

CRTDEF void crt_reader_init(crt_reader *r, crt_stream *s, void *buf, size_t n)
{
    memset(r, 0, sizeof *r);
    r->stream = s;
    r->data = buf;
    r->owned = !buf;
    if (!n && !buf) n = CRT__STREAM_BUFFER;
    r->capacity = r->base = n > 1 ? n - 1 : !buf;
}
CRTDEF void crt_reader_drop(crt_reader *r)
{
    if (!r) return;
    if (r->owned && r->data) CRT_FREE(r->data);
    memset(r, 0, sizeof *r);
}
CRTDEF void *crt_reader_data(const crt_reader *r) { return r->data ? r->data + r->pos : NULL; }
CRTDEF size_t crt_reader_buffered(const crt_reader *r) { return r->filled - r->pos; }
CRTDEF void crt_reader_consume(crt_reader *r, size_t n)
{
    r->pos += crt__min(n, r->filled - r->pos);
    r->scanned = 0;
}
// At each poll of a call. `n` counts at the first.
static crt_poll crt__reader_enter(crt_cx *cx, crt_reader *r, size_t n, bool good)
{
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    if (!r->stream || !r->capacity || !good) return crt__refuse(cx, CRT_EINVAL);
    if (crt__goes_on(cx, &crt__op_read, r->stream)) return 0;
    r->want = n;
    r->done = r->scanned = 0;
    return 0;
}
static int crt__reader_resize(crt_reader *r, size_t capacity)
{
    unsigned char *data = CRT_MALLOC(capacity + 1);
    if (!data) return CRT_ENOMEM;
    if (r->data) {
        memcpy(data, r->data, r->filled);   // `pos` is 0: see below
        CRT_FREE(r->data);
    }
    r->data = data;
    r->capacity = capacity;
    return 0;
}
// Makes room for at least one more byte on the way to `need` of them. A buffer of our
// own doubles when it is full, and shrinks when it is empty and was large.
static int crt__reader_room(crt_reader *r, size_t need)
{
    if (r->pos == r->filled) {
        r->pos = r->filled = 0;
        if (r->owned && r->data && r->capacity > 8 * r->base && need <= r->base) {
            CRT_FREE(r->data);
            r->data = NULL;
            r->capacity = r->base;
        }
    }
    if (need > r->capacity && !r->owned) return CRT_EMSGSIZE;
    if (!r->data) return crt__reader_resize(r, r->capacity);
    if (r->pos && (r->filled == r->capacity || need > r->capacity - r->pos)) {
        memmove(r->data, r->data + r->pos, r->filled - r->pos);
        r->filled -= r->pos;
        r->pos = 0;
    }
    if (r->filled < r->capacity) return 0;
    return crt__reader_resize(r, crt__min(crt__max(need, r->capacity + 1), 2 * r->capacity));
}
// Reads more, for `need` bytes in all: how many came, 0 at the end, or as crt_read.
static crt_poll crt__reader_more(crt_cx *cx, crt_reader *r, size_t need)
{
    int e = crt__reader_room(r, need);
    if (e) return e;   // not later: a read_exact would begin anew
    crt_poll k = crt_read(cx, r->stream, r->data + r->filled, crt__min(r->capacity - r->filled, (size_t)INT_MAX));
    if (k > 0) r->filled += (size_t)k;
    return k;
}
static size_t crt__reader_take(crt_reader *r, void *buf, size_t n)
{
    n = crt__min(n, r->filled - r->pos);
    if (n) memcpy(buf, r->data + r->pos, n);
    r->pos += n;
    return n;
}
CRTDEF crt_poll crt_reader_fill(crt_cx *cx, crt_reader *r, size_t min)
{
    if (!r) return crt__refuse(cx, CRT_EINVAL);
    crt_poll k = crt__reader_enter(cx, r, min, true);
    if (k) return k;
    // What asks for no bytes takes budget too: a loop around it would let nobody else run.
    k = (crt_poll)(r->filled - r->pos);
    if ((size_t)k >= r->want) return crt__ends_now(cx, &crt__op_read, r->stream, k);
    while (r->filled - r->pos < r->want) {
        k = crt__reader_more(cx, r, r->want);
        if (k == 0) return r->filled == r->pos ? 0 : CRT_EEOF;
        if (k == CRT_EMSGSIZE || k == CRT_ENOMEM) return crt__ends_now(cx, &crt__op_read, r->stream, k);
        if (k < 0) return k;
    }
    return (crt_poll)(r->filled - r->pos);
}
CRTDEF crt_poll crt_reader_read(crt_cx *cx, crt_reader *r, void *buf, size_t n)
{
    if (!r) return crt__refuse(cx, CRT_EINVAL);
    crt_poll k = crt__reader_enter(cx, r, n, buf || !n);
    if (k) return k;
    if (r->filled == r->pos) {
        // A large read into an empty buffer passes by it.
        if (r->want >= r->capacity || !r->want) return crt_read(cx, r->stream, buf, r->want);
        k = crt__reader_more(cx, r, 1);
        if (k <= 0) return k == CRT_ENOMEM ? crt__ends_now(cx, &crt__op_read, r->stream, k) : k;
    }
    return (crt_poll)crt__reader_take(r, buf, r->want);
}
CRTDEF crt_poll crt_reader_read_exact(crt_cx *cx, crt_reader *r, void *buf, size_t n)
{
    if (!r) return crt__refuse(cx, CRT_EINVAL);
    crt_poll k = crt__reader_enter(cx, r, n, buf || !n);
    if (k) return k;
    if (!r->want) return crt__ends_now(cx, &crt__op_read, r->stream, 0);
    for (;;) {
        r->done += crt__reader_take(r, (char *)buf + r->done, r->want - r->done);
        size_t left = r->want - r->done;
        if (!left) return (crt_poll)r->want;
        if (left >= r->capacity) {
            k = crt_read(cx, r->stream, (char *)buf + r->done, crt__min(left, (size_t)INT_MAX));
            if (k > 0) r->done += (size_t)k;
        } else {
            k = crt__reader_more(cx, r, 1);
            if (k == CRT_ENOMEM) return crt__ends_now(cx, &crt__op_read, r->stream, k);
        }
        if (k == 0) return CRT_EEOF;
        if (k < 0) return k;
    }
}
// The bytes up to and with the delimiter: how many are buffered; all that are left, at
// the end of the stream.
static crt_poll crt__reader_find(crt_cx *cx, crt_reader *r, int delimiter, size_t max)
{
    crt_poll k = crt__reader_enter(cx, r, max, true);
    if (k) return k;
    max = r->want;
    if (!max || (!r->owned && max > r->capacity)) max = r->capacity;
    for (;;) {
        size_t buffered = r->filled - r->pos, look = crt__min(buffered, max);
        unsigned char *from = r->data ? r->data + r->pos : NULL;
        unsigned char *hit = look > r->scanned ? memchr(from + r->scanned, delimiter, look - r->scanned) : NULL;
        if (hit) return hit - from + 1;
        r->scanned = look;
        if (buffered >= max) return crt__ends_now(cx, &crt__op_read, r->stream, CRT_EMSGSIZE);
        k = crt__reader_more(cx, r, max);
        if (k == 0) return (crt_poll)buffered;
        if (k < 0) return k == CRT_ENOMEM ? crt__ends_now(cx, &crt__op_read, r->stream, k) : k;
    }
}
CRTDEF crt_poll crt_reader_read_until(crt_cx *cx, crt_reader *r, int delimiter, size_t max, void **data)
{
    if (!r || !data) return crt__refuse(cx, CRT_EINVAL);
    *data = NULL;
    crt_poll n = crt__reader_find(cx, r, delimiter, max);
    if (n <= 0) return n;
    *data = r->data + r->pos;
    crt_reader_consume(r, (size_t)n);
    return n;
}
CRTDEF crt_poll crt_reader_read_line(crt_cx *cx, crt_reader *r, size_t max, char **line)
{
    if (!r || !line) return crt__refuse(cx, CRT_EINVAL);
    *line = NULL;
    crt_poll n = crt__reader_find(cx, r, '\n', max);
    if (n <= 0) return n ? n : CRT_ECLOSED;
    char *text = (char *)r->data + r->pos;
    crt_reader_consume(r, (size_t)n);
    if (text[n - 1] == '\n') n -= n > 1 && text[n - 2] == '\r' ? 2 : 1;
    text[n] = 0;   // over the line's end, or in the byte that is kept for this
    *line = text;
    return n;
}
CRTDEF crt_poll crt_reader_skip_until(crt_cx *cx, crt_reader *r, int delimiter)
{
    if (!r) return crt__refuse(cx, CRT_EINVAL);
    crt_poll k = crt__reader_enter(cx, r, 0, true);
    if (k) return k;
    for (;;) {
        size_t n = r->filled - r->pos;
        unsigned char *from = n ? r->data + r->pos : NULL;
        unsigned char *hit = n ? memchr(from, delimiter, n) : NULL;
        crt_reader_consume(r, hit ? (size_t)(hit - from) + 1 : n);
        if (hit) return 0;
        k = crt__reader_more(cx, r, 1);
        if (k == CRT_ENOMEM) return crt__refuse(cx, k);
        if (k <= 0) return k ? k : CRT_ECLOSED;
    }
}

// --- buffered writer

CRTDEF void crt_writer_init(crt_writer *w, crt_stream *s, void *buf, size_t n)
{
    memset(w, 0, sizeof *w);
    w->stream = s;
    w->data = buf;
    w->owned = !buf;
    w->capacity = n || buf ? n : CRT__STREAM_BUFFER;
}
CRTDEF void crt_writer_drop(crt_writer *w)
{
    if (!w) return;
    if (w->owned && w->data) CRT_FREE(w->data);
    memset(w, 0, sizeof *w);
}
CRTDEF size_t crt_writer_buffered(const crt_writer *w) { return w->filled - w->pos; }

static crt_poll crt__writer_enter(crt_cx *cx, crt_writer *w, size_t n)
{
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    if (!w->stream || !w->capacity) return crt__refuse(cx, CRT_EINVAL);
    bool goes_on = crt__goes_on(cx, &crt__op_write, w->stream);
    if (!goes_on) w->want = n, w->done = 0;
    if (CRT__LIKELY(w->data != NULL)) return 0;
    if (!(w->data = CRT_MALLOC(w->capacity))) return crt__ends_now(cx, &crt__op_write, w->stream, CRT_ENOMEM);
    if (goes_on) crt__io_end((crt__sock *)w->stream, cx->slot);   // there was no memory at the poll before
    return 0;
}
// Writes what is buffered: 0, or as crt_write.
static crt_poll crt__writer_drain(crt_cx *cx, crt_writer *w)
{
    while (w->pos < w->filled) {
        crt_poll k = crt_write(cx, w->stream, w->data + w->pos, crt__min(w->filled - w->pos, (size_t)INT_MAX));
        if (k < 0) return k;
        w->pos += (size_t)k;
    }
    w->pos = w->filled = 0;
    return 0;
}
// Takes a piece of w->want bytes, of which `from` has those after the first `before`.
static crt_poll crt__writer_put(crt_cx *cx, crt_writer *w, const void *from, size_t before, size_t n)
{
    while (w->done < before + n) {
        size_t left = before + n - w->done;
        const unsigned char *next = (const unsigned char *)from + (w->done - before);
        crt_poll k;
        if (w->filled == 0 && left >= w->capacity) {
            k = crt_write(cx, w->stream, next, crt__min(left, (size_t)INT_MAX));
            if (k < 0) return k;
        } else {
            if (w->filled == w->capacity && (k = crt__writer_drain(cx, w)) != 0) return k;
            k = (crt_poll)crt__min(left, w->capacity - w->filled);
            memcpy(w->data + w->filled, next, (size_t)k);
            w->filled += (size_t)k;
        }
        w->done += (size_t)k;
    }
    return 0;
}
CRTDEF crt_poll crt_writer_write_all(crt_cx *cx, crt_writer *w, const void *data, size_t n)
{
    if (!w) return crt__refuse(cx, CRT_EINVAL);
    crt_poll k = crt__writer_enter(cx, w, n);
    if (k) return k;
    if (!w->want || !data) return crt__ends_now(cx, &crt__op_write, w->stream, w->want ? CRT_EINVAL : 0);
    k = crt__writer_put(cx, w, data, 0, w->want);
    return k ? k : (crt_poll)w->want;
}
CRTDEF crt_poll crt_writer_flush(crt_cx *cx, crt_writer *w)
{
    if (!w) return crt__refuse(cx, CRT_EINVAL);
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    if (!w->stream || w->pos == w->filled) return crt__refuse(cx, w->stream ? 0 : CRT_EINVAL);
    return crt__writer_drain(cx, w);
}
CRTDEF crt_poll crt_writer_shutdown(crt_cx *cx, crt_writer *w)
{
    if (!w) return crt__refuse(cx, CRT_EINVAL);
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    crt_poll k = crt__writer_drain(cx, w);
    return k ? k : crt_shutdown(cx, w->stream);
}

// --- to the end

CRTDEF void crt_bytes_drop(crt_bytes *b)
{
    if (!b) return;
    if (b->data) CRT_FREE(b->data);
    memset(b, 0, sizeof *b);
}
static int crt__bytes_grow(crt_bytes *b, size_t most)
{
    size_t capacity = crt__min(most, crt__max(2 * b->capacity, 4096));
    if (b->n < b->capacity && b->data) return 0;
    if (capacity <= b->n) capacity = b->n + 1;
    unsigned char *data = CRT_MALLOC(capacity + 1);
    if (!data) return CRT_ENOMEM;
    if (b->data) {
        memcpy(data, b->data, b->n);
        CRT_FREE(b->data);
    }
    data[b->n] = 0;
    b->data = data;
    b->capacity = capacity;
    return 0;
}
CRTDEF crt_poll crt_read_to_end(crt_cx *cx, crt_stream *s, crt_bytes *b, size_t limit)
{
    if (!b) return crt__refuse(cx, CRT_EINVAL);
    size_t most = crt__min(limit, SIZE_MAX / 4) + 1;   // one more tells too much from enough
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    while (b->n < most) {
        int e = crt__bytes_grow(b, most);
        if (e) return crt__refuse(cx, e);
        size_t room = crt__min(b->capacity, most) - b->n;
        crt_poll k = crt_read(cx, s, (char *)b->data + b->n, crt__min(room, (size_t)INT_MAX));
        if (k == 0) return (crt_poll)b->n;
        if (k < 0) return k;
        b->n += (size_t)k;
        ((char *)b->data)[b->n] = 0;
    }
    return crt__refuse(cx, CRT_EMSGSIZE);
}

// --- copies: the buffers hang in a slot of the struct, which is listed in the task
// while a copy runs, so that they are freed also with a task that is ended by force

static CRT__COLD void crt__op_memory_cancel(crt_slot *slot) { CRT_FREE(slot->object); }
static const crt__op crt__op_memory = {"copy", crt__op_memory_cancel};

enum { CRT__COPY_LARGE = 65536, CRT__COPY_PATIENCE = 4 };

// Lists the slots in the task, the last `buffers` of them with a buffer each: object
// is where, value how large, extra whether it may grow.
static int crt__copy_begin(crt_cx *cx, crt__group *g, crt_slot *slots, uint32_t n, uint32_t buffers, size_t asked)
{
    size_t size = asked ? crt__min(asked, (size_t)INT_MAX) : CRT__STREAM_BUFFER;
    memset(slots, 0, n * sizeof *slots);
    for (uint32_t i = n - buffers; i < n; i++) {
        void *memory = CRT_MALLOC(size);
        if (!memory) {
            while (i-- > n - buffers) crt__slot_cancel(&slots[i]);
            return CRT_ENOMEM;
        }
        crt__slot_park(cx, &slots[i], &crt__op_memory, memory);
        slots[i].value = size;
        slots[i].extra = !asked;
    }
    crt__group_link(cx, g, slots, n, sizeof *slots);
    return 0;
}
// Reads keep filling an empty buffer: a larger one, if there is one, saves calls.
static void crt__copy_grow(crt__pump *p, crt_slot *memory)
{
    void *large = memory->extra ? CRT_MALLOC(CRT__COPY_LARGE) : NULL;
    p->full = 0;
    if (!large) return;
    CRT_FREE(memory->object);
    memory->object = large;
    memory->value = CRT__COPY_LARGE;
    memory->extra = 0;
}
static void crt__copy_end(crt__group *g)
{
    for (uint32_t i = 0; i < g->count; i++) crt__slot_cancel(&g->first[i]);
    crt__group_unlink(g);
    memset(g, 0, sizeof *g);
}
// 0 at the end of `from`; otherwise as crt_read and crt_write.
static crt_poll crt__pump_run(crt_cx *cx, crt__pump *p, crt_slot *memory, crt_stream *from, crt_stream *to)
{
    for (;;) {
        crt_poll k;
        if (p->pos < p->filled) {
            k = crt_write(cx, to, (char *)memory->object + p->pos, p->filled - p->pos);
            if (k < 0) return k;
            p->pos += (size_t)k;
            p->count += (size_t)k;
        } else {
            if (p->full == CRT__COPY_PATIENCE) crt__copy_grow(p, memory);
            k = crt_read(cx, from, memory->object, (size_t)memory->value);
            if (k <= 0) return k;
            p->pos = 0;
            p->filled = (size_t)k;
            p->full = p->filled == memory->value ? p->full + 1 : 0;
        }
        p->moved = 1;
    }
}
CRTDEF crt_poll crt_copy(crt_cx *cx, crt_copier *c, crt_stream *from, crt_stream *to)
{
    if (!c) return crt__refuse(cx, CRT_EINVAL);
    if (crt_take_unwind(cx)) {
        crt__copy_end(&c->group);
        return CRT_UNWIND;
    }
    if (!c->group.pprev) {
        if (!from || !to) return crt__refuse(cx, CRT_EINVAL);
        int e = crt__copy_begin(cx, &c->group, &c->memory, 1, 1, c->buffer);
        if (e) return crt__refuse(cx, e);
        memset(&c->pump, 0, sizeof c->pump);
    }
    crt_poll r = crt__pump_run(cx, &c->pump, &c->memory, from, to);
    c->count = c->pump.count;
    if (r == CRT_PENDING) return r;
    crt__copy_end(&c->group);
    return r ? r : (crt_poll)crt__min(c->count, (uint64_t)INTPTR_MAX);
}
// One direction, in a slot of its own, until its end has been passed on.
static crt_poll crt__pair_run(crt_cx *cx, crt_copier_pair *c, int i, crt_stream *from, crt_stream *to)
{
    crt__pump *p = &c->pump[i];
    crt_slot *outer = cx->slot;
    if (p->ended) return 0;
    cx->slot = &c->slots[i];
    crt_poll r = crt__pump_run(cx, p, &c->slots[3 + i], from, to);
    if (r == 0) {
        p->ended = 1;
        r = crt__shutdown_now(to, CRT__SHUT_WR);
    }
    cx->slot = outer;
    return r;
}
// CRT_PENDING, or CRT_ETIMEDOUT, or that there is no timer. The timer is not set anew
// with each byte: when it fires, it goes on for what is left.
static crt_poll crt__pair_idle(crt_cx *cx, crt_copier_pair *c)
{
    crt_slot *outer = cx->slot;
    crt_poll r = 0;
    if (c->idle <= 0) return CRT_PENDING;
    if (c->pump[0].moved | c->pump[1].moved) {
        c->pump[0].moved = c->pump[1].moved = 0;
        c->moved = crt__rt_now(cx->rt);
    }
    cx->slot = &c->slots[2];
    while (r == 0) {
        crt_instant until = crt__instant_after(c->moved, c->idle);
        r = crt_unconstrained(cx, crt__sleep(cx, until, true, 0));
        if (r == 0 && crt__rt_now(cx->rt) >= until) r = CRT_ETIMEDOUT;
    }
    cx->slot = outer;
    return r;
}
CRTDEF crt_poll crt_copy_bidirectional(crt_cx *cx, crt_copier_pair *c, crt_stream *a, crt_stream *b)
{
    if (!c) return crt__refuse(cx, CRT_EINVAL);
    if (crt_take_unwind(cx)) {
        crt__copy_end(&c->group);
        return CRT_UNWIND;
    }
    if (!c->group.pprev) {
        if (!a || !b) return crt__refuse(cx, CRT_EINVAL);
        int e = crt__copy_begin(cx, &c->group, c->slots, 5, 2, c->buffer);
        if (e) return crt__refuse(cx, e);
        memset(c->pump, 0, sizeof c->pump);
        c->pump[0].moved = 1;   // the time begins now
    }
    // They take turns in being first: one alone could use the budget up at each poll.
    int first = (int)(c->turn++ & 1);
    crt_poll r = crt__pair_run(cx, c, first, first ? b : a, first ? a : b);
    if (r == 0 || r == CRT_PENDING) {
        crt_poll other = crt__pair_run(cx, c, !first, first ? a : b, first ? b : a);
        if (other != 0) r = other;
    }
    c->a_to_b = c->pump[0].count;
    c->b_to_a = c->pump[1].count;
    if (r == CRT_PENDING) r = crt__pair_idle(cx, c);
    if (r != CRT_PENDING) crt__copy_end(&c->group);
    return r;
}

// --- frames

// What the fields mean, in one shape.
typedef struct crt__framing {
    size_t max, head, skip;   // head: up to and with the field
    uint32_t offset, length;
    int64_t adjust;
    bool little;
} crt__framing;

static int crt__framing_of(const crt_framed *f, crt__framing *x)
{
    static const crt_framed none;
    if (!f) f = &none;
    x->max = f->max_frame_length ? crt__min(f->max_frame_length, SIZE_MAX / 4) : (size_t)8 << 20;
    x->offset = f->length_field_offset;
    x->length = f->length_field_length ? f->length_field_length : 4;
    x->adjust = f->length_adjustment;
    x->little = f->little_endian;
    x->head = (size_t)x->offset + x->length;
    x->skip = f->num_skip > 0 ? (size_t)f->num_skip : f->num_skip ? 0 : x->head;
    if (x->offset > 64 || x->length > 8 || f->num_skip < CRT_FRAMED_KEEP) return CRT_EINVAL;
    if (x->adjust > INT32_MAX || x->adjust < -INT32_MAX) return CRT_EINVAL;
    return 0;
}
// How many bytes the frame at `head` has after those that are skipped, or an error.
static crt_poll crt__framing_length(const crt__framing *x, const unsigned char *head)
{
    uint64_t said = 0;
    for (uint32_t i = 0; i < x->length; i++)
        said = said << 8 | head[x->offset + (x->little ? x->length - 1 - i : i)];
    if (said > x->max) return CRT_EMSGSIZE;
    int64_t n = (int64_t)said + x->adjust;
    if (n < 0 || (uint64_t)n + x->skip < x->head) return CRT_EPROTO;
    return n > INTPTR_MAX / 4 ? CRT_EMSGSIZE : (crt_poll)n;
}
CRTDEF crt_poll crt_framed_read(crt_cx *cx, crt_reader *r, const crt_framed *f, void **frame)
{
    if (!r || !frame) return crt__refuse(cx, CRT_EINVAL);
    crt__framing x;
    *frame = NULL;
    crt_poll k = crt__reader_enter(cx, r, 0, true);
    int e = k ? 0 : crt__framing_of(f, &x);
    if (e) return crt__refuse(cx, e);
    while (!k) {
        size_t buffered = r->filled - r->pos, need = x.head;
        if (buffered >= x.head) {
            crt_poll n = crt__framing_length(&x, r->data + r->pos);
            if (n < 0) return crt__refuse(cx, n);
            need = x.skip + (size_t)n;
            if (buffered >= need) {
                *frame = r->data + r->pos + x.skip;
                crt_reader_consume(r, need);
                return n;
            }
        }
        k = crt__reader_more(cx, r, need);
        if (k == 0) return buffered ? CRT_EEOF : CRT_ECLOSED;
        if (k == CRT_EMSGSIZE || k == CRT_ENOMEM) return crt__refuse(cx, k);
        if (k > 0) k = 0;
    }
    return k;
}
CRTDEF crt_poll crt_framed_write(crt_cx *cx, crt_writer *w, const crt_framed *f, const void *data, size_t n)
{
    if (!w) return crt__refuse(cx, CRT_EINVAL);
    crt__framing x;
    unsigned char head[64 + 8] = {0};
    int e = crt__framing_of(f, &x);
    crt_poll k = crt__writer_enter(cx, w, (e ? 0 : x.head) + crt__min(n, SIZE_MAX / 2));
    if (k || e) return k ? k : crt__refuse(cx, e);
    n = w->want - x.head;   // that of the first poll
    if (n > x.max) return crt__refuse(cx, CRT_EMSGSIZE);
    int64_t said = (int64_t)n - x.adjust;
    if (said < 0 || (x.length < 8 && (uint64_t)said >> 8 * x.length) || (n && !data))
        return crt__refuse(cx, CRT_EINVAL);
    for (uint32_t i = 0; i < x.length; i++)
        head[x.offset + (x.little ? i : x.length - 1 - i)] = (unsigned char)((uint64_t)said >> 8 * i);
    if (w->done < x.head) k = crt__writer_put(cx, w, head, 0, x.head);
    if (!k) k = crt__writer_put(cx, w, data, x.head, n);
    return k ? k : (crt_poll)n;
}
// --- standard streams: one record for each, for the whole process, with a buffer and,
// while somebody has a handle or bytes are left to be written, a thread. A handle is
// listed in it; the thread reports to all of them. The thread waits in poll(), for its
// descriptor when there is something to do, and always for the pipe that wakes it.

// What the thread waits with (Windows: in its platform header).
#ifndef _WIN32
typedef struct crt__stdio_wake {
    int pipe[2];
} crt__stdio_wake;
static int crt__stdio_wake_new(crt__stdio_wake *w, int fd)
{
    int e = crt__pipe(w->pipe, true);
    if (!e) crt__fd_set_sigpipe(fd, false);
    return e;
}
static void crt__stdio_wake_free(crt__stdio_wake *w)
{
    crt__fd_close(w->pipe[0]);
    crt__fd_close(w->pipe[1]);
}
static void crt__stdio_wake_up(crt__stdio_wake *w) { crt__pipe_wake(w->pipe[1]); }
// Waits for a wake-up, and (busy) until the stream can go on: true.
static bool crt__stdio_wait(crt__stdio_wake *w, int fd, bool busy)
{
    struct pollfd p[2] = {{w->pipe[0], POLLIN, 0}, {fd, fd ? POLLOUT : POLLIN, 0}};
    char drain[16];
    if (poll(p, busy ? 2 : 1, -1) < 0) return false;
    if (p[0].revents) {
        ssize_t n = read(w->pipe[0], drain, sizeof drain);
        (void)n;
    }
    return busy && p[1].revents;
}
static intptr_t crt__stdio_move(crt__stdio_wake *w, int fd, void *buf, size_t n)
{
    (void)w;
    return fd ? write(fd, buf, n) : read(fd, buf, n);
}
static bool crt__stdio_exists(int fd) { return fcntl(fd, F_GETFD) >= 0; }
#endif

enum { CRT__STDIO_BUFFER = 16384 };
typedef struct crt__stdio_end {
    crt__soft soft;
    struct crt__stdio *io;
    struct crt__stdio_end *next;
    crt_runtime *rt;
    uint64_t token;
    bool ended;   // no more through this handle
} crt__stdio_end;
typedef struct crt__stdio {
    uint32_t lock;
    int error;                // to be told
    crt__stdio_wake wake;
    bool running, ended;      // the thread is there; in: end of input, to be told
    bool at_exit;
    size_t wanted;            // in: bytes asked for; 0 while there is something to be told
    size_t head, count;       // a ring
    uint32_t drained;         // atomic futex word: grows when nothing is left to be written
    int64_t pid;              // whose thread it is: a child of fork has none
    crt__stdio_end *ends;
    unsigned char data[CRT__STDIO_BUFFER];
} crt__stdio;
static crt__stdio crt__stdios[3];   // by descriptor

static int crt__stdio_fd(const crt__stdio *io) { return (int)(io - crt__stdios); }

// Under the lock.
static void crt__stdio_tell(crt__stdio *io, uint32_t bits)
{
    for (crt__stdio_end *e = io->ends; e; e = e->next) crt__sock_event(e->rt, e->token, bits);
}
// The thread is there, and of this process.
static bool crt__stdio_runs(const crt__stdio *io)
{
    return io->running && io->pid == crt__process_number();
}
static bool crt__stdio_busy(const crt__stdio *io)
{
    return crt__stdio_fd(io) ? io->count > 0 : io->wanted > 0;
}
// One read or write. The bytes that it works on are nobody else's meanwhile.
static void crt__stdio_transfer(crt__stdio *io)
{
    int fd = crt__stdio_fd(io);
    bool in = fd == 0;
    crt__lock(&io->lock);
    size_t n = in ? crt__min(io->wanted, sizeof io->data) : crt__min(io->count, sizeof io->data - io->head);
    unsigned char *at = io->data + (in ? 0 : io->head);
    crt__unlock(&io->lock);
    intptr_t k = crt__stdio_move(&io->wake, fd, at, n);
    int e = k < 0 ? errno : 0;
    if (e == EINTR || crt__would_block(e)) return;   // poll() again
    crt__lock(&io->lock);
    io->error = -e;
    if (in) {
        io->wanted = 0;
        io->head = 0;
        io->count = k > 0 ? (size_t)k : 0;
        io->ended = k == 0;
        crt__stdio_tell(io, CRT__READABLE);
    } else {
        io->count = e ? 0 : io->count - (size_t)k;
        io->head = e ? 0 : (io->head + (size_t)k) % sizeof io->data;
        if (!io->count) crt__atomic_add(&io->drained, 1, CRT__RELEASE);
        // READABLE means here that nothing is left: see crt_flush.
        crt__stdio_tell(io, CRT__WRITABLE | (io->count ? 0 : CRT__READABLE));
    }
    crt__unlock(&io->lock);
    if (!in) crt__futex_wake(&io->drained, INT_MAX);
}
static CRT__COLD void *crt__stdio_main(void *arg)
{
    static const char *const names[] = {"crt-stdin", "crt-stdout", "crt-stderr"};
    crt__stdio *io = arg;
    int fd = crt__stdio_fd(io);
    crt__thread_set_name(names[fd]);
    for (;;) {
        crt__lock(&io->lock);
        bool busy = crt__stdio_busy(io);
        if (!io->ends && (!busy || fd == 0)) break;
        crt__unlock(&io->lock);
        if (crt__stdio_wait(&io->wake, fd, busy)) crt__stdio_transfer(io);
    }
    io->running = false;
    io->wanted = 0;
    crt__stdio_wake_free(&io->wake);
    crt__unlock(&io->lock);
    return NULL;
}
// exit() waits for what is left, unless this is a child that has no such thread.
static CRT__COLD void crt__stdio_at_exit(void)
{
    for (int i = 1; i < 3; i++) {
        crt__stdio *io = &crt__stdios[i];
        for (;;) {
            uint32_t seen = crt__atomic_load(&io->drained, CRT__ACQUIRE);
            crt__lock(&io->lock);
            bool left = io->count && crt__stdio_runs(io);
            crt__unlock(&io->lock);
            if (!left) break;
            crt__futex_wait(&io->drained, seen, -1);
        }
    }
}
// The thread, woken or begun. Under the lock. 0 or an error.
static CRT__COLD int crt__stdio_start(crt__stdio *io)
{
    crt__thread thread;
    if (crt__stdio_runs(io)) {
        crt__stdio_wake_up(&io->wake);
        return 0;
    }
    if (io->running) io->count = 0;   // after fork: those bytes are the parent's to write
    int e = crt__stdio_wake_new(&io->wake, crt__stdio_fd(io));
    if (e) return e;
    if (crt__stdio_fd(io) && !io->at_exit) io->at_exit = !atexit(crt__stdio_at_exit);
    io->pid = crt__process_number();
    io->running = !crt__thread_start(&thread, crt__stdio_main, io, 0);
    if (io->running) {
        crt__thread_detach(thread);
        return 0;
    }
    crt__stdio_wake_free(&io->wake);
    return CRT_ENOMEM;   // not the system's EAGAIN, which would mean "wait"
}
static crt_poll crt__stdio_error(crt__stdio *io)
{
    int e = io->error;
    io->error = 0;
    return e;
}
static CRT__COLD crt_poll crt__stdio_recv(crt__sock *s, void *buf, size_t n, bool peek)
{
    crt__stdio_end *end = (crt__stdio_end *)s->u.soft;
    crt__stdio *io = end->io;
    crt_poll k = CRT_EAGAIN;
    if (crt__stdio_fd(io)) return -EBADF;
    crt__lock(&io->lock);
    if (end->ended) {
        k = 0;
    } else if (io->count) {
        k = (crt_poll)crt__min(n, io->count);
        memcpy(buf, io->data + io->head, (size_t)k);
        io->head += peek ? 0 : (size_t)k;
        io->count -= peek ? 0 : (size_t)k;
    } else if (io->error) {
        k = crt__stdio_error(io);
    } else if (io->ended) {
        io->ended = peek;   // a terminal may go on after it
        k = 0;
    } else {
        io->wanted = crt__max(io->wanted, n);
        int e = crt__stdio_start(io);
        if (e) k = e;
    }
    crt__unlock(&io->lock);
    return k;
}
static CRT__COLD crt_poll crt__stdio_send(crt__sock *s, const void *buf, size_t n)
{
    crt__stdio_end *end = (crt__stdio_end *)s->u.soft;
    crt__stdio *io = end->io;
    if (!crt__stdio_fd(io)) return -EBADF;
    crt__lock(&io->lock);
    crt_poll k = end->ended ? -EPIPE : crt__stdio_error(io);
    int e = k ? 0 : crt__stdio_start(io);
    if (e) k = e;
    if (!k) {
        size_t room = sizeof io->data - io->count, at = (io->head + io->count) % sizeof io->data;
        size_t take = crt__min(n, room), first = crt__min(take, sizeof io->data - at);
        memcpy(io->data + at, buf, first);
        memcpy(io->data, (const char *)buf + first, take - first);
        io->count += take;
        k = take ? (crt_poll)take : CRT_EAGAIN;
    }
    crt__unlock(&io->lock);
    return k;
}
static CRT__COLD int crt__stdio_shutdown(crt__sock *s, int how)
{
    crt__stdio_end *end = (crt__stdio_end *)s->u.soft;
    if ((how == CRT__SHUT_RD) != (crt__stdio_fd(end->io) == 0)) return -EBADF;
    crt__lock(&end->io->lock);
    end->ended = true;
    crt__sock_event(end->rt, end->token, how == CRT__SHUT_RD ? CRT__READABLE : CRT__WRITABLE);
    crt__unlock(&end->io->lock);
    return 0;
}
static CRT__COLD void crt__stdio_close(crt__sock *s)
{
    crt__stdio_end *end = (crt__stdio_end *)s->u.soft, **p;
    crt__stdio *io = end->io;
    crt__lock(&io->lock);
    for (p = &io->ends; *p != end;) p = &(*p)->next;
    *p = end->next;
    if (!io->ends && io->running) crt__stdio_wake_up(&io->wake);   // it ends
    crt__unlock(&io->lock);
    crt__free(end->rt, end, sizeof *end);
}
static const crt__soft_ops crt__stdio_ops = {crt__stdio_recv, crt__stdio_send, crt__stdio_shutdown, crt__stdio_close,
                                             false, NULL};

static CRT__OUTLINE int crt__stdio_open(crt_cx *cx, int fd, crt_stream **out)
{
    crt__stdio *io = &crt__stdios[fd];
    if (!out) return CRT_EINVAL;
    *out = NULL;
    if (!crt__stdio_exists(fd)) return -EBADF;
    if (!CRT__THREADS) {
        crt__say(cx->rt, CRT_LOG_ERROR, "a standard stream needs a thread, and this is a build with CRT_NO_THREADS");
        return -ENOTSUP;
    }
    crt__stdio_end *end = crt__alloc_zero(cx->rt, sizeof *end);
    if (!end) return CRT_ENOMEM;
    end->soft.ops = &crt__stdio_ops;
    end->io = io;
    end->rt = cx->rt;
    crt__sock *s = crt__soft_attach(cx->rt, &end->soft,
                                    fd ? CRT__WRITABLE | CRT__READ_CLOSED : CRT__READABLE | CRT__WRITE_CLOSED);
    if (!s) {
        crt__free(cx->rt, end, sizeof *end);
        return CRT_ENOMEM;
    }
    end->token = crt__sock_token(s);
    crt__lock(&io->lock);
    end->next = io->ends;
    io->ends = end;
    crt__unlock(&io->lock);
    *out = (crt_stream *)s;
    return 0;
}
CRTDEF int crt_stdin(crt_cx *cx, crt_stream **s) { return crt__stdio_open(cx, 0, s); }
CRTDEF int crt_stdout(crt_cx *cx, crt_stream **s) { return crt__stdio_open(cx, 1, s); }
CRTDEF int crt_stderr(crt_cx *cx, crt_stream **s) { return crt__stdio_open(cx, 2, s); }

static const crt__op crt__op_flush = {"flush", crt__io_cancel};

// What it waits for is known by its number (slot.value), from the first poll on: the handle
// may be closed while it waits, and what that was made of is then gone.
CRTDEF crt_poll crt_flush(crt_cx *cx, crt_stream *stream)
{
    crt_slot *slot = cx->slot;
    crt__sock *s = crt__sock_of(slot, &crt__op_flush, (crt__sock *)stream);
    const uint32_t bits = CRT__READABLE | CRT__IO_SHUTDOWN;
    crt_poll r;
    if (!crt__leaf(cx, &crt__op_flush, s)) return CRT_UNWIND;
    if (!s) return crt__refuse(cx, CRT_EINVAL);
    uint64_t fd = slot->value;
    if (slot->op) {
        if ((r = crt__io_resume(cx)) != 0) return r;
    } else {
        if (!crt__sock_is_soft(s) || s->u.soft->ops != &crt__stdio_ops) return crt__refuse(cx, 0);   // nothing to do
        fd = (uint64_t)crt__stdio_fd(((crt__stdio_end *)s->u.soft)->io);
        if (!crt__coop(cx)) {
            crt__io_hold(cx, s, &crt__op_flush, fd);
            return CRT_PENDING;
        }
    }
    for (;;) {
        crt__stdio *io = &crt__stdios[fd];
        uint64_t seen = crt__atomic_load(&s->ready, CRT__ACQUIRE);
        if (slot->op && ((uint32_t)crt__generation_of(seen) & CRT__GENERATION) != crt__wait_generation(slot))
            return crt__io_end(s, slot), CRT_ECLOSED;
        crt__lock(&io->lock);
        bool done = !fd || !io->count || !crt__stdio_runs(io);   // the parent's to write
        crt_poll e = done && fd ? crt__stdio_error(io) : 0;
        crt__unlock(&io->lock);
        if (done || (seen & CRT__IO_SHUTDOWN)) {
            crt__io_end(s, slot);
            return done ? e : CRT_ESHUTDOWN;
        }
        crt__ready_clear(s, seen, CRT__READABLE);
        r = crt__io_park(cx, s, &crt__op_flush, bits);
        slot->value = fd;
        if (r != 0) return r;
    }
}

#endif   // CRT_NO_NET

// ---------------------------------------------------------------------------
// >>fs            files and directories
// ---------------------------------------------------------------------------
// Each function is one call (see >>calls) whose payload holds everything that the job
// touches: copies of the paths, the bytes to write, room for the bytes read. When the
// task takes the result, they are copied out.
//
// An open file has a turn: calls that use its position own it one at a time. The turn
// goes back when the task takes the result, or, if the task has given the call up,
// when the job ends; who comes between waits. Under the lock of the file either
// `finished` is seen by who gives up, or `dropped` by the job: one of them settles.
// A read that is settled has moved the position for nobody: it is moved back, or, where
// that cannot be done (a pipe), the bytes are kept for the next read.

#ifndef CRT_NO_FS
// The calls of POSIX, or what the platform header has in their place, with the same
// results and errno. A descriptor of a file is an int everywhere.
#ifndef _WIN32
#include <dirent.h>
#define crt__os_open open
#define crt__os_close close
#define crt__os_read read
#define crt__os_write write
#define crt__os_ftruncate ftruncate
#define crt__os_fchmod(fd, mode) fchmod((fd), (mode_t)(mode))   // which has 16 bits on macOS and FreeBSD
#define crt__os_chmod(path, mode) chmod((path), (mode_t)(mode))
#define crt__os_mkdir(path, mode) mkdir((path), (mode_t)(mode))
#define crt__os_rmdir rmdir
#define crt__os_rename rename
#define crt__os_link link
#define crt__os_symlink symlink
#define crt__os_mkostemp mkostemp
#define crt__os_mkdtemp mkdtemp
#define crt__os_seek(f, offset, whence) lseek((f)->fd, (off_t)(offset), whence)
#define CRT__IS_SLASH(c) ((c) == '/')
// Never inherited, never our terminal; a FIFO does not hold the open up.
enum { CRT__O_TEMP = O_CLOEXEC };   // the BSDs refuse O_NOCTTY to mkostemp
enum { CRT__O_QUIET = O_CLOEXEC | O_NOCTTY, CRT__O_NOFOLLOW = O_NOFOLLOW, CRT__O_NONBLOCK = O_NONBLOCK };
enum { CRT__O_VANISHES = 0 };   // when it is closed: Windows alone has that
typedef DIR crt__os_dir;
#endif

enum { CRT__FILE_MOST = 2 << 20, CRT__DIR_BATCH = 32, CRT__DIR_TEXT = 8192 };   // no name is longer than this
enum { CRT__AT_POSITION = -1 };
enum { CRT__MOVE_READ = 1, CRT__MOVE_ALL = 2, CRT__MOVE_SEEK = 4 };
enum { CRT__TEMP_FILE = 1, CRT__TEMP_DIR = 2 };

typedef struct crt__fs {
    crt__call call;
    crt_file *file;         // a reference, or NULL
    crt_file *made;         // opened, not yet handed out
    void *out;              // memory to be handed out
    size_t out_n;
    const char *a, *b;      // paths, inside `bytes`
    const char *data;       // inside `bytes`
    size_t n;               // bytes of this hop; of `data`; what is left of those kept
    size_t done, whole;     // bytes of earlier hops; of all hops
    size_t moved;           // bytes read by this hop
    int64_t offset;         // CRT__AT_POSITION: the file's own
    uint32_t how, arg;
    bool turn, finished, dropped;   // under the lock of the file
    uint8_t temp;           // `out` is a name to be removed unless it is handed out
    crt_fs_stat st;
    char bytes[];
} crt__fs;

struct crt_file {
    uint32_t refs;      // atomic: the handle's, those of calls and of waits for the turn
    uint32_t lock;      // over what follows
    int fd;
    bool seekable;
#ifdef _WIN32
    int64_t position;   // the system's moves with each transfer, wherever that was
#endif
    crt__fs *owner;     // has the turn
    crt_slot *waiter;   // waits for the end of an owner that was dropped
    crt__fs *kept;      // bytes that were read for nobody
    crt_dir *dir;       // the directory that this is
};
struct crt_dir {   // all but `file`: belongs to who has the turn
    crt_file file;
    crt__os_dir *stream;
    uint32_t at, count;   // next entry of the batch to be handed out; how many it has
    size_t text_n;
    const char *next;     // an entry that was read and found no room: the first of the next batch,
    uint64_t next_ino;    // in the system's memory until the one after it is read
    uint32_t next_kind;
    crt_fs_dirent entry[CRT__DIR_BATCH];
    char text[CRT__DIR_TEXT];   // their names
};

// --- what a file is, and a directory: the parts that differ

#ifndef _WIN32
#ifdef __APPLE__
#define CRT__ST_TIME(which) st_##which##timespec
#else
#define CRT__ST_TIME(which) st_##which##tim
#endif

static int64_t crt__ns(struct timespec t)
{
    const int64_t most = INT64_MAX / 1000000000 - 1;   // the year 2262
    int64_t s = (int64_t)t.tv_sec;
    return (s > most ? most : s < -most ? -most : s) * 1000000000 + t.tv_nsec;
}
static uint32_t crt__kind_of(mode_t mode)
{
    return S_ISREG(mode) ? CRT_FS_FILE : S_ISDIR(mode) ? CRT_FS_DIR : S_ISLNK(mode) ? CRT_FS_SYMLINK
         : S_ISFIFO(mode) ? CRT_FS_FIFO : S_ISSOCK(mode) ? CRT_FS_SOCKET : S_ISCHR(mode) ? CRT_FS_CHAR
         : S_ISBLK(mode) ? CRT_FS_BLOCK : CRT_FS_OTHER;
}
static void crt__stat_give(const struct stat *st, crt_fs_stat *out)
{
    out->size = (uint64_t)st->st_size;
    out->ino = st->st_ino;
    out->dev = (uint64_t)st->st_dev;
    out->nlink = st->st_nlink;
    out->allocated = (uint64_t)st->st_blocks * 512;
    out->atime_ns = crt__ns(st->CRT__ST_TIME(a));
    out->mtime_ns = crt__ns(st->CRT__ST_TIME(m));
    out->ctime_ns = crt__ns(st->CRT__ST_TIME(c));
    out->kind = crt__kind_of(st->st_mode);
    out->mode = st->st_mode & 07777;
    out->uid = st->st_uid;
    out->gid = st->st_gid;
}
// 0, or -1 and errno.
static int crt__os_fstat(int fd, crt_fs_stat *out)
{
    struct stat st;
    if (fstat(fd, &st)) return -1;
    crt__stat_give(&st, out);
    return 0;
}
static int crt__os_stat(const char *path, bool follow, crt_fs_stat *out)
{
    struct stat st;
    if (follow ? stat(path, &st) : lstat(path, &st)) return -1;
    crt__stat_give(&st, out);
    return 0;
}
static int crt__os_fsync(int fd, bool data_only)
{
#ifdef __APPLE__   // there, fsync leaves it in the drive's cache
    return (void)data_only, fcntl(fd, F_FULLFSYNC) ? fsync(fd) : 0;
#else
    int r;
    while ((r = data_only ? fdatasync(fd) : fsync(fd)) < 0 && errno == EINTR) {}
    return r;
#endif
}
#define crt__os_dirfd dirfd
static void crt__os_closedir(crt__os_dir *d) { closedir(d); }
static void crt__file_fd_close(int fd) { crt__fd_close(fd); }
#endif

static void crt__file_unref(crt_file *f)
{
    if (crt__atomic_sub(&f->refs, 1, CRT__ACQ_REL) != 1) return;
    if (f->kept) crt__call_unref(&f->kept->call);
    if (f->dir) crt__os_closedir(f->dir->stream);
    else crt__file_fd_close(f->fd);
    CRT_FREE(f);   // the first member of its directory
}
static crt_file *crt__file_ref(crt_file *f)
{
    crt__atomic_add(&f->refs, 1, CRT__RELAXED);
    return f;
}

// --- the turn

static const crt__op crt__op_turn, crt__op_file;

// Under the lock. The task to be submitted, if one waited.
static crt_task *crt__turn_release(crt_file *f)
{
    crt_slot *slot = f->waiter;
    f->owner = NULL;
    f->waiter = NULL;
    return slot && crt__task_notify(slot->task) ? slot->task : NULL;
}
// Lets go of the turn, if the call has it.
static CRT__COLD void crt__turn_leave(crt__fs *c)
{
    crt_task *woken = NULL;
    crt__lock(&c->file->lock);
    if (c->turn) woken = crt__turn_release(c->file);
    c->turn = false;
    crt__unlock(&c->file->lock);
    if (woken) crt__submit(woken);
}
// Parks with a reference to the file, and the size that the first poll was given.
static crt_poll crt__turn_park(crt_cx *cx, crt_file *f, size_t n)
{
    crt__slot_park(cx, cx->slot, &crt__op_turn, crt__file_ref(f));
    cx->slot->value = n;
    return CRT_PENDING;
}
static CRT__COLD void crt__op_turn_cancel(crt_slot *slot)
{
    crt_file *f = slot->object;
    crt__lock(&f->lock);
    if (f->waiter == slot) f->waiter = NULL;
    crt__unlock(&f->lock);
    crt__file_unref(f);
}
static const crt__op crt__op_turn = {"file (a cancelled call is under way)", crt__op_turn_cancel};

// 0: `c` has the turn. CRT_EBUSY. CRT_PENDING: the owner was dropped and will end.
static CRT__COLD crt_poll crt__turn_take(crt_cx *cx, crt_file *f, crt__fs *c)
{
    crt_poll r = 0;
    crt__lock(&f->lock);
    if (!f->owner) {
        f->owner = c;
        c->turn = true;
    } else if (!f->owner->dropped || f->waiter) {
        r = CRT_EBUSY;
    } else {
        r = crt__turn_park(cx, f, c->whole);
        f->waiter = cx->slot;
    }
    crt__unlock(&f->lock);
    return r;
}
// Where a call at the position stands at this poll. 0: it begins, with a reference to
// *f; *n is what the first poll was given. 1: it was started. Otherwise its result. The
// handle may have been closed meanwhile (NULL); another file is another call.
static crt_poll crt__turn_enter(crt_cx *cx, crt_file **f, size_t *n, bool started, bool valid)
{
    crt_slot *slot = cx->slot;
    bool waiting = slot->op == &crt__op_turn && (!*f || *f == slot->object);
    if (!crt__leaf(cx, waiting ? &crt__op_turn : &crt__op_file, waiting || started ? slot->object : NULL))
        return CRT_UNWIND;
    if (started) return 1;
    if (waiting) {
        *f = slot->object;
        *n = (size_t)slot->value;
        crt__lock(&(*f)->lock);
        waiting = (*f)->waiter == slot;
        crt__unlock(&(*f)->lock);
        if (waiting) return CRT_PENDING;
        slot->op = NULL;
        return 0;
    }
    if (!*f || !valid) return crt__refuse(cx, CRT_EINVAL);
    if (!crt__coop(cx)) return crt__turn_park(cx, *f, *n);
    crt__file_ref(*f);
    return 0;
}

// Under the lock: what a call at the position did that nobody waits for any more. True:
// the bytes that it read stay.
static CRT__COLD bool crt__fs_settle(crt__fs *c, crt_task **woken)
{
    crt_file *f = c->file;
    if (!c->turn) return false;
    c->turn = false;
    *woken = crt__turn_release(f);
    CRT_ASSERT(!f->kept || !c->moved);   // a read takes what is kept before it begins
    if (!c->moved) return false;
    if (f->seekable) {
        (void)crt__os_seek(f, -(int64_t)c->moved, SEEK_CUR);
        return false;
    }
    c->n = c->moved;
    c->done = 0;
    crt__atomic_add(&c->call.refs, 1, CRT__RELAXED);
    f->kept = c;
    return true;
}
// The end of the job (then it has finished) or of the wait (then it is dropped). What
// is kept lets go of the file, which has it.
static CRT__COLD void crt__fs_end(crt__fs *c, bool finished)
{
    crt_file *f = c->file;
    crt_task *woken = NULL;
    bool kept = false;
    crt__lock(&f->lock);
    if (finished) c->finished = true;
    else c->dropped = true;
    if (c->finished && c->dropped) kept = crt__fs_settle(c, &woken);
    if (kept) c->file = NULL;
    crt__unlock(&f->lock);
    if (woken) crt__submit(woken);
    if (kept) crt__file_unref(f);
}
static CRT__COLD void crt__op_file_cancel(crt_slot *slot)
{
    crt__fs *c = slot->object;
    if (c->file) crt__fs_end(c, false);
    crt__op_call_cancel(slot);
}
static const crt__op crt__op_file = {"file", crt__op_file_cancel};

// --- calls

static CRT__COLD void crt__fs_clean(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    if (c->temp == CRT__TEMP_FILE) crt__os_unlink(c->out);
    if (c->temp == CRT__TEMP_DIR) crt__os_rmdir(c->out);
    if (c->made) crt__file_unref(c->made);
    if (c->out) CRT_FREE(c->out);
    if (!c->file) return;
    crt__turn_leave(c);   // it has never begun
    crt__file_unref(c->file);
}
static CRT__COLD crt__fs *crt__fs_new(size_t bytes, intptr_t (*run)(crt__call *))
{
    return crt__call_new(offsetof(crt__fs, bytes) + bytes, run, crt__fs_clean);   // who calls keeps the sum in range
}
// The task is done with a call. It lets go of the file itself: the job may still be on
// its way out, and a descriptor that is closed has to be closed.
static CRT__OUTLINE void crt__fs_drop(crt__fs *c)
{
    crt_file *f = c->file;
    if (f) {
        crt__turn_leave(c);
        c->file = NULL;
        crt__file_unref(f);
    }
    crt__call_unref(&c->call);
}
// Is this slot parked on a call of this kind, on this file if there is one?
static bool crt__fs_started(crt_cx *cx, intptr_t (*run)(crt__call *), crt_file *f)
{
    crt__fs *c = cx->slot->object;
    return cx->slot->op == &crt__op_file && c->call.run == run && (!f || c->file == f);
}
// A call on up to two paths and some data: started at the first poll. Later its result,
// with *out the caller's to unref.
static crt_poll crt__fs_call(crt_cx *cx, intptr_t (*run)(crt__call *), const char *a, const char *b,
                             const void *data, size_t n, uint32_t arg, crt__fs **out)
{
    bool started = crt__fs_started(cx, run, NULL);
    *out = NULL;
    if (!crt__leaf(cx, &crt__op_file, started ? cx->slot->object : NULL)) return CRT_UNWIND;
    if (started) {
        *out = (crt__fs *)crt__call_paid(cx);
        return *out ? (*out)->call.result : CRT_PENDING;
    }
    if (!a || !b || (n && !data)) return crt__refuse(cx, CRT_EINVAL);
    size_t an = strlen(a) + 1, bn = strlen(b) + 1;
    crt__fs *c = n > SIZE_MAX / 4 ? NULL : crt__fs_new(an + bn + n, run);
    if (!c) return crt__refuse(cx, CRT_ENOMEM);
    c->a = memcpy(c->bytes, a, an);
    c->b = memcpy(c->bytes + an, b, bn);
    c->data = c->bytes + an + bn;
    if (n) memcpy(c->bytes + an + bn, data, n);
    c->n = n;
    c->arg = arg;
    return crt__call_begin(cx, &crt__op_file, &c->call);
}
// One that gives nothing but its result.
static CRT__OUTLINE crt_poll crt__fs_do(crt_cx *cx, intptr_t (*run)(crt__call *), const char *a,
                                        const char *b, uint32_t arg)
{
    crt__fs *c;
    crt_poll r = crt__fs_call(cx, run, a, b, NULL, 0, arg, &c);
    if (c) crt__call_unref(&c->call);
    return r;
}
// The same on an open file, not at its position. One that waits for its budget holds a
// reference: the file may be closed meanwhile.
static void crt__op_held_cancel(crt_slot *slot) { crt__file_unref(slot->object); }
static const crt__op crt__op_held = {"file (not begun)", crt__op_held_cancel};

static crt_poll crt__file_call(crt_cx *cx, intptr_t (*run)(crt__call *), crt_file *f, int64_t offset,
                               uint32_t arg, crt__fs **out)
{
    crt_slot *slot = cx->slot;
    bool started = crt__fs_started(cx, run, f), held = slot->op == &crt__op_held && (!f || f == slot->object);
    *out = NULL;
    if (!crt__leaf(cx, held ? &crt__op_held : &crt__op_file, held || started ? slot->object : NULL)) return CRT_UNWIND;
    if (started) {
        *out = (crt__fs *)crt__call_result(cx);
        return *out ? (*out)->call.result : CRT_PENDING;
    }
    if (!held && !f) return crt__refuse(cx, CRT_EINVAL);
    f = held ? slot->object : crt__file_ref(f);
    if (!held && !crt__coop(cx)) {
        crt__slot_park(cx, slot, &crt__op_held, f);
        return CRT_PENDING;
    }
    slot->op = NULL;   // the reference is ours
    crt__fs *c = crt__fs_new(0, run);
    if (!c) return crt__file_unref(f), CRT_ENOMEM;
    c->file = f;
    c->offset = offset;
    c->arg = arg;
    return crt__call_start(cx, &crt__op_file, &c->call);
}
static crt_poll crt__file_do(crt_cx *cx, intptr_t (*run)(crt__call *), crt_file *f, int64_t offset, uint32_t arg)
{
    crt__fs *c;
    crt_poll r = crt__file_call(cx, run, f, offset, arg, &c);
    if (c) crt__fs_drop(c);
    return r;
}

// --- opening

#ifndef _WIN32
// What an open that follows no link says to one: FreeBSD and NetBSD have words of their own.
static bool crt__met_link(int error)
{
#ifdef EFTYPE
    if (error == EFTYPE) return true;
#endif
    return error == ELOOP || error == EMLINK;
}
#endif
// The descriptor, or -1 and errno. Interrupted: again, as everywhere here.
static int crt__open(const char *path, int flags, uint32_t mode)
{
    int fd;
    while ((fd = crt__os_open(path, flags, mode)) < 0 && errno == EINTR) {}
#ifndef _WIN32
    if (fd < 0 && (flags & CRT__O_NOFOLLOW) && crt__met_link(errno)) errno = ELOOP;
#endif
    return crt__fd_own(fd);
}
#ifndef _WIN32
// Not opendir, whose descriptor may be 0, 1 or 2. NULL and errno.
static DIR *crt__os_opendir(const char *path)
{
    int fd = crt__open(path, O_RDONLY | O_DIRECTORY | CRT__O_QUIET | CRT__O_NONBLOCK, 0);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (fd >= 0 && !d) crt__fd_close(fd);
    return d;
}
#endif
// 0, or -1 and errno.
static int crt__set_length(int fd, int64_t length)
{
    int r;
    while ((r = crt__os_ftruncate(fd, length)) < 0 && errno == EINTR) {}
    return r;
}
// The file to be handed out. Before it is opened: without memory nothing has been made or cut off.
static bool crt__fs_make(crt__fs *c)
{
    crt_file *f = CRT_MALLOC(sizeof *f);
    if (!f) return false;
    memset(f, 0, sizeof *f);
    f->refs = 1;
    f->fd = -1;
    c->made = f;
    return true;
}
// Not a device that takes a seek and moves nothing: its bytes come once, as those of a pipe.
static bool crt__is_seekable(crt_file *f)
{
    if (crt__os_seek(f, 0, SEEK_CUR) < 0) return false;
#ifndef _WIN32
    struct stat st;
    if (fstat(f->fd, &st) || !S_ISCHR(st.st_mode)) return true;
#ifdef __linux__
    return crt__os_seek(f, 1, SEEK_SET) == 1 && crt__os_seek(f, 0, SEEK_SET) == 0;
#else   // any number is taken: a disk has an end
    return crt__os_seek(f, 0, SEEK_END) > 0 && crt__os_seek(f, 0, SEEK_SET) == 0;
#endif
#else
    return true;
#endif
}
// It has been opened, or not: 0 or -errno.
static intptr_t crt__fs_made(crt__fs *c, int fd)
{
    crt_file *f = c->made;
    int e = fd < 0 ? -errno : 0;
    if (e) {
        c->made = NULL;
        CRT_FREE(f);
        return e;
    }
    f->fd = fd;
    f->seekable = crt__is_seekable(f);
#ifndef _WIN32
    if (!f->seekable) crt__fd_set_sigpipe(fd, false);   // a FIFO, perhaps
#endif
    return 0;
}
static crt_file *crt__fs_take_made(crt__fs *c)
{
    crt_file *f = c->made;
    c->made = NULL;
    return f;
}
// The flags of open(), or -1 for a description that says nothing sensible.
static int crt__open_flags(const crt_fs_open_desc *d)
{
    bool writes = d->write || d->append;
    int flags = d->read && writes ? O_RDWR : writes ? O_WRONLY : O_RDONLY;
    if (!d->read && !writes) return -1;
    if ((d->truncate && (!d->write || d->append)) || ((d->create || d->create_new) && !writes)) return -1;
    if (d->append) flags |= O_APPEND;
    if (d->truncate) flags |= O_TRUNC;
    if (d->create || d->create_new) flags |= O_CREAT;
    if (d->create_new) flags |= O_EXCL;
    if (d->no_follow) flags |= CRT__O_NOFOLLOW;
    return flags | CRT__O_QUIET;
}
static CRT__COLD intptr_t crt__fs_open_run(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    int flags;
    memcpy(&flags, c->data, sizeof flags);
    return crt__fs_make(c) ? crt__fs_made(c, crt__open(c->a, flags, c->arg)) : CRT_ENOMEM;
}
CRTDEF crt_poll crt_fs_open(crt_cx *cx, const char *path, const crt_fs_open_desc *desc, crt_file **f)
{
    if (!f) return crt__refuse(cx, CRT_EINVAL);
    static const crt_fs_open_desc reading = {.read = true};
    if (!desc) desc = &reading;
    int flags = crt__open_flags(desc);
    uint32_t mode = desc->mode ? desc->mode : 0666;
    crt__fs *c;
    *f = NULL;
    crt_poll r = crt__fs_call(cx, crt__fs_open_run, flags < 0 ? NULL : path, "", &flags, sizeof flags, mode, &c);
    if (!c) return r;
    *f = crt__fs_take_made(c);
    crt__call_unref(&c->call);
    return r;
}
CRTDEF void crt_file_close(crt_file **f)
{
    crt_file *old = f ? *f : NULL;
    if (!old) return;
    *f = NULL;
    crt__file_unref(old);
}
CRTDEF intptr_t crt_file_fd(const crt_file *f) { return f ? f->fd : CRT_EINVAL; }

// --- reading, writing, seeking: in hops of at most 2 MiB

static intptr_t crt__move_once(crt__fs *c, size_t k)
{
    int fd = c->file->fd;
    char *p = c->bytes + k;
#ifdef _WIN32
    int64_t at = c->offset < 0 ? -1 : c->offset + (int64_t)k;
    int64_t *position = c->file->seekable ? &c->file->position : NULL;
    return crt__win_file_move(fd, (c->how & CRT__MOVE_READ) != 0, p, c->n - k, at, position);
#else
    off_t at = (off_t)(c->offset + (int64_t)k);
    if (c->how & CRT__MOVE_READ)
        return c->offset < 0 ? read(fd, p, c->n - k) : pread(fd, p, c->n - k, at);
    return c->offset < 0 ? write(fd, p, c->n - k) : pwrite(fd, p, c->n - k, at);
#endif
}
// A seek gives the new position as the eight bytes that it reads.
static intptr_t crt__move_seek(crt__fs *c)
{
    static const int whence[] = {SEEK_SET, SEEK_CUR, SEEK_END};
    int64_t to;
    memcpy(&to, c->bytes, sizeof to);
    to = crt__os_seek(c->file, to, whence[c->arg]);
    if (to < 0) return -errno;
    memcpy(c->bytes, &to, sizeof to);
    return (intptr_t)c->n;
}
static CRT__COLD intptr_t crt__file_move_run(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    size_t k = 0;
    intptr_t r = 0;
    if (c->how & CRT__MOVE_SEEK) {
        r = crt__move_seek(c);
    } else {
        do {
            while ((r = crt__move_once(c, k)) < 0 && errno == EINTR) {}
            if (r > 0) k += (size_t)r;
        } while ((c->how & CRT__MOVE_ALL) && r > 0 && k < c->n);
        r = r < 0 ? -errno : (intptr_t)k;
        if (c->how & CRT__MOVE_READ) c->moved = k;
    }
    crt__fs_end(c, true);
    return r;
}
// Bytes that an earlier read has left, under the turn. How many were copied.
static size_t crt__take_kept(crt_file *f, void *in, size_t n)
{
    crt__fs *kept = f->kept;
    if (!kept) return 0;
    n = crt__min(n, kept->n);
    memcpy(in, kept->bytes + kept->done, n);
    kept->done += n;
    kept->n -= n;
    if (kept->n) return n;
    f->kept = NULL;
    crt__call_unref(&kept->call);
    return n;
}
// A hop of a transfer of `whole` bytes, `done` of which are behind it; not yet started.
static crt__fs *crt__move_new(crt_file *f, size_t whole, size_t done, int64_t offset, uint32_t how, uint32_t arg)
{
    size_t n = crt__min(whole - done, (size_t)CRT__FILE_MOST);
    crt__fs *c = crt__fs_new(n, crt__file_move_run);
    if (!c) return NULL;
    c->file = f;
    c->whole = whole;
    c->done = done;
    c->n = n;
    c->offset = offset;
    c->how = how;
    c->arg = arg;
    return c;
}
// Takes over the reference to f.
static CRT__COLD crt_poll crt__move_begin(crt_cx *cx, crt_file *f, void *in, const void *out, size_t n,
                                          int64_t offset, uint32_t how, uint32_t arg)
{
    crt__fs *c = crt__move_new(f, n, 0, offset, how, arg);
    if (!c) return crt__file_unref(f), CRT_ENOMEM;
    if (offset == CRT__AT_POSITION) {
        crt_poll r = crt__turn_take(cx, f, c);
        if (r == 0 && (how & CRT__MOVE_READ) && !(how & CRT__MOVE_SEEK)) {
            c->done = crt__take_kept(f, in, n);
            c->n = crt__min(n - c->done, c->n);
            if (c->done == n || (c->done && !(how & CRT__MOVE_ALL))) r = (crt_poll)c->done;
        }
        if (r != 0) return crt__call_unref(&c->call), r;
    }
    if (!in) memcpy(c->bytes, out, c->n);
    else if (how & CRT__MOVE_SEEK) memcpy(c->bytes, in, c->n);
    return crt__call_start(cx, &crt__op_file, &c->call);
}
// The next hop has what this one had: the file and the turn.
static crt_poll crt__move_on(crt_cx *cx, crt__fs *c, const void *out)
{
    int64_t offset = c->offset < 0 ? c->offset : c->offset + (int64_t)c->call.result;
    crt__fs *next = crt__move_new(c->file, c->whole, c->done, offset, c->how, c->arg);
    if (next) {
        crt__lock(&c->file->lock);
        next->turn = c->turn;
        if (c->turn) c->file->owner = next;
        c->turn = false;
        crt__unlock(&c->file->lock);
        c->file = NULL;
    }
    if (!next) return crt__fs_drop(c), CRT_ENOMEM;   // the turn, too
    crt__call_unref(&c->call);
    if (out) memcpy(next->bytes, (const char *)out + next->done, next->n);
    return crt__call_start(cx, &crt__op_file, &next->call);
}
static CRT__COLD crt_poll crt__move_taken(crt_cx *cx, crt__fs *c, void *in, const void *out)
{
    crt_poll r = c->call.result;
    if (r >= 0) {
        if (in) memcpy((char *)in + c->done, c->bytes, (size_t)r);
        c->done += (size_t)r;
        bool short_ = (c->how & CRT__MOVE_ALL) && c->done < c->whole;
        if (short_ && r > 0) return crt__move_on(cx, c, out);
        r = !short_ ? (crt_poll)c->done : in ? CRT_EEOF : -EIO;
    }
    crt__fs_drop(c);
    return r;
}
static crt_poll crt__file_move(crt_cx *cx, crt_file *f, void *in, const void *out, size_t n, int64_t offset,
                               uint32_t how, uint32_t arg)
{
    bool started = crt__fs_started(cx, crt__file_move_run, f) && ((crt__fs *)cx->slot->object)->how == how;
    bool valid = (in || out) && n <= INTPTR_MAX && offset >= CRT__AT_POSITION && arg <= CRT_SEEK_END;
    crt_poll r = crt__turn_enter(cx, &f, &n, started, valid);
    if (r == 0) return crt__move_begin(cx, f, in, out, n, offset, how, arg);
    if (r != 1) return r;
    crt__fs *c = (crt__fs *)crt__call_result(cx);
    return c ? crt__move_taken(cx, c, in, out) : CRT_PENDING;
}
// A negative offset that a caller gave is not a position.
static int64_t crt__checked(int64_t offset) { return offset < 0 ? CRT__AT_POSITION - 1 : offset; }

CRTDEF crt_poll crt_file_read(crt_cx *cx, crt_file *f, void *buf, size_t n)
{
    return crt__file_move(cx, f, buf, NULL, n, CRT__AT_POSITION, CRT__MOVE_READ, 0);
}
CRTDEF crt_poll crt_file_read_exact(crt_cx *cx, crt_file *f, void *buf, size_t n)
{
    return crt__file_move(cx, f, buf, NULL, n, CRT__AT_POSITION, CRT__MOVE_READ | CRT__MOVE_ALL, 0);
}
CRTDEF crt_poll crt_file_write(crt_cx *cx, crt_file *f, const void *buf, size_t n)
{
    return crt__file_move(cx, f, NULL, buf, n, CRT__AT_POSITION, 0, 0);
}
CRTDEF crt_poll crt_file_write_all(crt_cx *cx, crt_file *f, const void *buf, size_t n)
{
    return crt__file_move(cx, f, NULL, buf, n, CRT__AT_POSITION, CRT__MOVE_ALL, 0);
}
CRTDEF crt_poll crt_file_pread(crt_cx *cx, crt_file *f, void *buf, size_t n, int64_t offset)
{
    return crt__file_move(cx, f, buf, NULL, n, crt__checked(offset), CRT__MOVE_READ, 0);
}
CRTDEF crt_poll crt_file_pread_exact(crt_cx *cx, crt_file *f, void *buf, size_t n, int64_t offset)
{
    return crt__file_move(cx, f, buf, NULL, n, crt__checked(offset), CRT__MOVE_READ | CRT__MOVE_ALL, 0);
}
CRTDEF crt_poll crt_file_pwrite(crt_cx *cx, crt_file *f, const void *buf, size_t n, int64_t offset)
{
    return crt__file_move(cx, f, NULL, buf, n, crt__checked(offset), 0, 0);
}
CRTDEF crt_poll crt_file_pwrite_all(crt_cx *cx, crt_file *f, const void *buf, size_t n, int64_t offset)
{
    return crt__file_move(cx, f, NULL, buf, n, crt__checked(offset), CRT__MOVE_ALL, 0);
}
CRTDEF crt_poll crt_file_seek(crt_cx *cx, crt_file *f, int64_t offset, int whence, int64_t *position)
{
    crt_poll r = crt__file_move(cx, f, &offset, NULL, sizeof offset, CRT__AT_POSITION,
                                CRT__MOVE_READ | CRT__MOVE_SEEK, (uint32_t)whence);
    if (r > 0 && position) *position = offset;
    return crt__min(r, 0);
}

// --- the rest on open files

static CRT__COLD intptr_t crt__file_sync_run(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    return crt__os_fsync(c->file->fd, c->arg != 0) ? -errno : 0;
}
static CRT__COLD intptr_t crt__file_length_run(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    return crt__set_length(c->file->fd, c->offset) ? -errno : 0;
}
static CRT__COLD intptr_t crt__file_mode_run(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    return crt__os_fchmod(c->file->fd, c->arg) ? -errno : 0;
}
CRTDEF crt_poll crt_file_sync(crt_cx *cx, crt_file *f) { return crt__file_do(cx, crt__file_sync_run, f, 0, 0); }
CRTDEF crt_poll crt_file_sync_data(crt_cx *cx, crt_file *f) { return crt__file_do(cx, crt__file_sync_run, f, 0, 1); }
CRTDEF crt_poll crt_file_set_len(crt_cx *cx, crt_file *f, int64_t length)
{
    return crt__file_do(cx, crt__file_length_run, length < 0 ? NULL : f, length, 0);
}
CRTDEF crt_poll crt_file_set_mode(crt_cx *cx, crt_file *f, uint32_t mode)
{
    return crt__file_do(cx, crt__file_mode_run, f, 0, mode);
}

// --- what a file is

enum { CRT__STAT_OPEN, CRT__STAT_FOLLOW, CRT__STAT_LINK };
static CRT__COLD intptr_t crt__fs_stat_run(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    int e = c->arg == CRT__STAT_OPEN ? crt__os_fstat(c->file->fd, &c->st)
                                     : crt__os_stat(c->a, c->arg == CRT__STAT_FOLLOW, &c->st);
    return e ? -errno : 0;
}
static crt_poll crt__stat_taken(crt__fs *c, crt_poll r, crt_fs_stat *st)
{
    if (!c) return r;
    if (r == 0) *st = c->st;
    crt__fs_drop(c);
    return r;
}
static crt_poll crt__fs_stat_path(crt_cx *cx, const char *path, uint32_t how, crt_fs_stat *st)
{
    crt__fs *c;
    crt_poll r = crt__fs_call(cx, crt__fs_stat_run, st ? path : NULL, "", NULL, 0, how, &c);
    return crt__stat_taken(c, r, st);
}
CRTDEF crt_poll crt_file_metadata(crt_cx *cx, crt_file *f, crt_fs_stat *st)
{
    crt__fs *c;
    crt_poll r = crt__file_call(cx, crt__fs_stat_run, st ? f : NULL, 0, CRT__STAT_OPEN, &c);
    return crt__stat_taken(c, r, st);
}
CRTDEF crt_poll crt_fs_metadata(crt_cx *cx, const char *path, crt_fs_stat *st)
{
    return crt__fs_stat_path(cx, path, CRT__STAT_FOLLOW, st);
}
CRTDEF crt_poll crt_fs_lstat(crt_cx *cx, const char *path, crt_fs_stat *st)
{
    return crt__fs_stat_path(cx, path, CRT__STAT_LINK, st);
}
CRTDEF crt_poll crt_fs_exists(crt_cx *cx, const char *path)
{
    crt_fs_stat st;
    crt_poll r = crt_fs_metadata(cx, path, &st);
    return r == 0 ? 1 : r == -ENOENT || r == -ENOTDIR ? 0 : r;
}

// --- on paths: one system call each

#define CRT__FS_RUN(name, failed)                                                          \
    static intptr_t crt__fs_##name##_run(crt__call *call)                                  \
    {                                                                                      \
        crt__fs *c = (crt__fs *)call;                                                      \
        return (failed) ? -errno : 0;                                                      \
    }
CRT__FS_RUN(create_dir, crt__os_mkdir(c->a, c->arg))
CRT__FS_RUN(remove_file, crt__os_unlink(c->a))
CRT__FS_RUN(remove_dir, crt__os_rmdir(c->a))
CRT__FS_RUN(rename, crt__os_rename(c->a, c->b))
CRT__FS_RUN(hard_link, crt__os_link(c->a, c->b))
CRT__FS_RUN(symlink, crt__os_symlink(c->a, c->b))
CRT__FS_RUN(set_mode, crt__os_chmod(c->a, c->arg))

CRTDEF crt_poll crt_fs_create_dir(crt_cx *cx, const char *path, uint32_t mode)
{
    return crt__fs_do(cx, crt__fs_create_dir_run, path, "", mode ? mode : 0777);
}
CRTDEF crt_poll crt_fs_remove_file(crt_cx *cx, const char *path)
{
    return crt__fs_do(cx, crt__fs_remove_file_run, path, "", 0);
}
CRTDEF crt_poll crt_fs_remove_dir(crt_cx *cx, const char *path)
{
    return crt__fs_do(cx, crt__fs_remove_dir_run, path, "", 0);
}
CRTDEF crt_poll crt_fs_rename(crt_cx *cx, const char *from, const char *to)
{
    return crt__fs_do(cx, crt__fs_rename_run, from, to, 0);
}
CRTDEF crt_poll crt_fs_hard_link(crt_cx *cx, const char *from, const char *to)
{
    return crt__fs_do(cx, crt__fs_hard_link_run, from, to, 0);
}
CRTDEF crt_poll crt_fs_symlink(crt_cx *cx, const char *target, const char *path)
{
    return crt__fs_do(cx, crt__fs_symlink_run, target, path, 0);
}
CRTDEF crt_poll crt_fs_set_mode(crt_cx *cx, const char *path, uint32_t mode)
{
    return crt__fs_do(cx, crt__fs_set_mode_run, path, "", mode);
}

// --- on paths: more than one

// 0 if it is a directory now.
static int crt__make_dir(const char *path, uint32_t mode)
{
    crt_fs_stat st;
    if (!crt__os_mkdir(path, mode)) return 0;
    int e = errno;
    if (e != ENOENT && !crt__os_stat(path, true, &st) && st.kind == CRT_FS_DIR) return 0;
    return -e;
}
// Cuts the path at its last slashes until something can be made, then puts them back.
static CRT__COLD intptr_t crt__fs_create_dir_all_run(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    char *path = c->bytes;   // the copy of the path
    size_t whole = strlen(path), n;
    while (whole > 1 && CRT__IS_SLASH(path[whole - 1])) path[--whole] = 0;
    int e = crt__make_dir(path, c->arg);
    for (n = whole; e == -ENOENT && n;) {
        while (n && !CRT__IS_SLASH(path[n - 1])) n--;
        while (n && CRT__IS_SLASH(path[n - 1])) n--;
        if (!n) return e;
        path[n] = 0;
        e = crt__make_dir(path, c->arg);
    }
    while (e == 0 && n < whole) {
        path[n] = '/';
        n += strlen(path + n);
        e = crt__make_dir(path, c->arg);
    }
    return e;
}
CRTDEF crt_poll crt_fs_create_dir_all(crt_cx *cx, const char *path, uint32_t mode)
{
    return crt__fs_do(cx, crt__fs_create_dir_all_run, path, "", mode ? mode : 0777);
}

#ifndef _WIN32
static bool crt__is_dot(const char *name) { return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])); }
// The directories from the top to the one being emptied, each open.
typedef struct crt__level {
    struct crt__level *up;
    DIR *dir;
    char name[];
} crt__level;

// Goes down into a directory of `at`; -ENOTDIR if it is something else, a link too.
static int crt__level_push(crt__level **top, int at, const char *name)
{
    int fd;
    while ((fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0 && errno == EINTR) {}
    if ((fd = crt__fd_own(fd)) < 0) return crt__met_link(errno) ? -ENOTDIR : -errno;
    size_t n = strlen(name) + 1;
    crt__level *l = CRT_MALLOC(sizeof *l + n);
    if (l && (l->dir = fdopendir(fd))) {
        memcpy(l->name, name, n);
        l->up = *top;
        *top = l;
        return 0;
    }
    if (l) CRT_FREE(l);
    crt__fd_close(fd);
    return CRT_ENOMEM;
}
static int crt__level_pop(crt__level **top)
{
    crt__level *l = *top;
    *top = l->up;
    closedir(l->dir);
    int e = unlinkat(l->up ? dirfd(l->up->dir) : AT_FDCWD, l->name, AT_REMOVEDIR) ? -errno : 0;
    CRT_FREE(l);
    return e == -ENOENT ? 0 : e;
}
// The next entry of the lowest directory; up again when it is empty.
static int crt__level_step(crt__level **top)
{
    errno = 0;
    struct dirent *d = readdir((*top)->dir);
    if (!d) return errno ? -errno : crt__level_pop(top);
    if (crt__is_dot(d->d_name)) return 0;
    int at = dirfd((*top)->dir), e = -ENOTDIR;
    if (d->d_type == DT_DIR || d->d_type == DT_UNKNOWN) e = crt__level_push(top, at, d->d_name);
    if (e == -ENOTDIR) e = unlinkat(at, d->d_name, 0) ? -errno : 0;
    return e == -ENOENT ? 0 : e;
}
static CRT__COLD intptr_t crt__fs_remove_all_run(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    crt__level *top = NULL;
    struct stat st;
    char *path = c->bytes;   // the copy of the path. A slash at its end would follow a link
    for (size_t n = strlen(path); n > 1 && path[n - 1] == '/';) path[--n] = 0;
    if (!lstat(c->a, &st) && S_ISLNK(st.st_mode)) return unlink(c->a) ? -errno : 0;
    int e = crt__level_push(&top, AT_FDCWD, c->a);
    while (top && e == 0) e = crt__call_abandoned(call) ? CRT_ECANCELED : crt__level_step(&top);
    while (top) {
        crt__level *l = top;
        top = l->up;
        closedir(l->dir);
        CRT_FREE(l);
    }
    return e;
}
#else
static intptr_t crt__fs_remove_all_run(crt__call *call)
{
    return crt__win_remove_all(((crt__fs *)call)->a, &call->refs);
}
#endif
CRTDEF crt_poll crt_fs_remove_dir_all(crt_cx *cx, const char *path)
{
    return crt__fs_do(cx, crt__fs_remove_all_run, path, "", 0);
}

// Bytes by the kernel where it can, by hand where not; those of /proc have no size that
// the kernel could believe. How many at this step, 0 at the end, or -errno.
static intptr_t crt__copy_step(int from, int to, char *buf, size_t n, bool *by_hand)
{
    intptr_t k;
    if (!*by_hand) {
        if ((k = crt__file_copy_some(from, to)) > 0) return k;
        *by_hand = true;
    }
    while ((k = crt__os_read(from, buf, n)) < 0 && errno == EINTR) {}
    if (k <= 0) return k < 0 ? -errno : 0;
    for (intptr_t done = 0, w; done < k; done += w) {
        while ((w = crt__os_write(to, buf + done, (size_t)(k - done))) < 0 && errno == EINTR) {}
        if (w <= 0) return w < 0 ? -errno : -EIO;
    }
    return k;
}
enum { CRT__COPY_ROOM = 65536 };
static intptr_t crt__copy_open(crt__call *call, int from, const crt_fs_stat *a, int to)
{
    crt__fs *c = (crt__fs *)call;
    crt_fs_stat b;
    bool by_hand = false;
    if (crt__os_fstat(to, &b)) return -errno;
    if (a->dev == b.dev && a->ino == b.ino) return CRT_EINVAL;
    // Plain files take the mode before the data, so that nobody else reads it. What runs as its owner runs as no other.
    uint32_t mode = a->uid == b.uid && a->gid == b.gid ? a->mode : a->mode & 0777;
    if (b.kind == CRT_FS_FILE && (crt__set_length(to, 0) || crt__os_fchmod(to, mode))) return -errno;
    for (intptr_t k; (k = crt__copy_step(from, to, c->out, CRT__COPY_ROOM, &by_hand)) != 0; c->st.size += (uint64_t)k) {
        if (k < 0) return k;
        if (crt__call_abandoned(call)) return CRT_ECANCELED;
    }
    return 0;
}
static CRT__COLD intptr_t crt__fs_copy_run(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    int from = crt__open(c->a, O_RDONLY | CRT__O_QUIET | CRT__O_NONBLOCK, 0);   // a FIFO must not hold it up
    if (from < 0) return errno == EISDIR ? CRT_EINVAL : -errno;   // Windows opens no directory
    crt_fs_stat st;
    intptr_t r = crt__os_fstat(from, &st) ? -errno : st.kind == CRT_FS_FILE ? 0 : CRT_EINVAL;
    if (r == 0 && !(c->out = CRT_MALLOC(CRT__COPY_ROOM))) r = CRT_ENOMEM;   // not when `to` has been emptied
    int to = r ? -1 : crt__open(c->b, O_WRONLY | O_CREAT | CRT__O_QUIET, st.mode & 0777);
    if (r == 0) r = to < 0 ? -errno : crt__copy_open(call, from, &st, to);
    if (to >= 0 && crt__os_close(to) && r == 0 && errno != EINTR) r = -errno;
    crt__file_fd_close(from);
    return r;
}
CRTDEF crt_poll crt_fs_copy(crt_cx *cx, const char *from, const char *to, uint64_t *bytes)
{
    crt__fs *c;
    crt_poll r = crt__fs_call(cx, crt__fs_copy_run, from, to, NULL, 0, 0, &c);
    if (!c) return r;
    if (bytes) *bytes = c->st.size;
    crt__call_unref(&c->call);
    return r;
}

// --- names

#ifdef _WIN32
static intptr_t crt__fs_read_link_run(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    return (c->out = crt__win_read_link(c->a)) ? 0 : -errno;
}
static intptr_t crt__fs_canonical_run(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    return (c->out = crt__win_real_path(c->a)) ? 0 : -errno;
}
#else
static char *crt__text(const char *from, size_t n)
{
    char *text = CRT_MALLOC(n + 1);
    if (!text) return NULL;
    memcpy(text, from, n);
    text[n] = 0;
    return text;
}
static CRT__COLD intptr_t crt__fs_read_link_run(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    for (size_t room = 256;; room *= 2) {
        if (!(c->out = CRT_MALLOC(room))) return CRT_ENOMEM;
        ssize_t n = readlink(c->a, c->out, room);
        if (n < 0) return -errno;
        if ((size_t)n < room) {
            ((char *)c->out)[n] = 0;
            return 0;
        }
        CRT_FREE(c->out);
        c->out = NULL;
    }
}
static CRT__COLD intptr_t crt__fs_canonical_run(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    char *real = realpath(c->a, NULL);
    if (!real) return -errno;
    c->out = crt__text(real, strlen(real));
    free(real);   // the C library's, not CRT_MALLOC's
    return c->out ? 0 : CRT_ENOMEM;
}
#endif
static CRT__OUTLINE crt_poll crt__fs_text(crt_cx *cx, intptr_t (*run)(crt__call *), const char *path, char **text)
{
    crt__fs *c;
    *text = NULL;
    crt_poll r = crt__fs_call(cx, run, path, "", NULL, 0, 0, &c);
    if (!c) return r;
    if (r == 0) {
        *text = c->out;
        c->out = NULL;
        c->temp = 0;
    }
    crt__call_unref(&c->call);
    return r;
}
CRTDEF crt_poll crt_fs_read_link(crt_cx *cx, const char *path, char **target)
{
    if (!target) return crt__refuse(cx, CRT_EINVAL);
    return crt__fs_text(cx, crt__fs_read_link_run, path, target);
}
CRTDEF crt_poll crt_fs_canonicalize(crt_cx *cx, const char *path, char **real)
{
    if (!real) return crt__refuse(cx, CRT_EINVAL);
    return crt__fs_text(cx, crt__fs_canonical_run, path, real);
}

static const char *crt__temp_place(const char *dir)
{
#ifdef _WIN32
    static const char *const names[] = {"TMP", "TEMP", "USERPROFILE"};
    for (int i = 0; i < 3 && (!dir || !*dir); i++) dir = getenv(names[i]);
    return dir && *dir ? dir : ".";
#else
    if (!dir) dir = getenv("TMPDIR");
    return dir && *dir ? dir : "/tmp";
#endif
}
static bool crt__temp_template(crt__fs *c)
{
    static const char tail[] = "/crt-XXXXXX";
    size_t n = strlen(c->a);
    char *name = CRT_MALLOC(n + sizeof tail);
    if (!name) return false;
    memcpy(name, c->a, n);
    memcpy(name + n, tail, sizeof tail);
    c->out = name;
    return true;
}
static CRT__COLD intptr_t crt__fs_temp_file_run(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    if (!crt__temp_template(c) || !crt__fs_make(c)) return CRT_ENOMEM;
    int fd = crt__os_mkostemp(c->out, CRT__O_TEMP | (c->arg ? CRT__O_VANISHES : 0));
    if (fd >= 0 && c->arg) crt__os_unlink(c->out);
    else if (fd >= 0) c->temp = CRT__TEMP_FILE;   // removed in the end, unless its name is handed out
    return crt__fs_made(c, crt__fd_own(fd));
}
static CRT__COLD intptr_t crt__fs_temp_dir_run(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    if (!crt__temp_template(c)) return CRT_ENOMEM;
    if (!crt__os_mkdtemp(c->out)) return -errno;
    c->temp = CRT__TEMP_DIR;
    return 0;
}
CRTDEF crt_poll crt_fs_temp_file(crt_cx *cx, const char *dir, crt_file **f, char **path)
{
    if (!f) return crt__refuse(cx, CRT_EINVAL);
    crt__fs *c;
    *f = NULL;
    if (path) *path = NULL;
    crt_poll r = crt__fs_call(cx, crt__fs_temp_file_run, crt__temp_place(dir), "", NULL, 0, !path, &c);
    if (!c) return r;
    *f = crt__fs_take_made(c);
    if (r == 0 && path) {
        *path = c->out;
        c->out = NULL;
        c->temp = 0;
    }
    crt__call_unref(&c->call);
    return r;
}
CRTDEF crt_poll crt_fs_temp_dir(crt_cx *cx, const char *dir, char **path)
{
    if (!path) return crt__refuse(cx, CRT_EINVAL);
    return crt__fs_text(cx, crt__fs_temp_dir_run, crt__temp_place(dir), path);
}

// --- directories

static CRT__COLD intptr_t crt__fs_read_dir_run(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    crt_dir *d = CRT_MALLOC(sizeof *d);
    if (!d) return CRT_ENOMEM;
    memset(d, 0, offsetof(crt_dir, entry));
    if (!(d->stream = crt__os_opendir(c->a))) {
        int e = -errno;
        CRT_FREE(d);
        return e;
    }
    d->file.refs = 1;
    d->file.dir = d;
    d->file.fd = crt__os_dirfd(d->stream);
    c->made = &d->file;
    return 0;
}
CRTDEF crt_poll crt_fs_read_dir(crt_cx *cx, const char *path, crt_dir **d)
{
    if (!d) return crt__refuse(cx, CRT_EINVAL);
    crt__fs *c;
    *d = NULL;
    crt_poll r = crt__fs_call(cx, crt__fs_read_dir_run, path, "", NULL, 0, 0, &c);
    if (!c) return r;
    crt_file *f = crt__fs_take_made(c);
    if (f) *d = f->dir;
    crt__call_unref(&c->call);
    return r;
}
#ifndef _WIN32
static uint32_t crt__entry_kind(int dir, const struct dirent *d)
{
    struct stat st;
    switch (d->d_type) {
    case DT_REG: return CRT_FS_FILE;
    case DT_DIR: return CRT_FS_DIR;
    case DT_LNK: return CRT_FS_SYMLINK;
    case DT_FIFO: return CRT_FS_FIFO;
    case DT_SOCK: return CRT_FS_SOCKET;
    case DT_CHR: return CRT_FS_CHAR;
    case DT_BLK: return CRT_FS_BLOCK;
    default: return fstatat(dir, d->d_name, &st, AT_SYMLINK_NOFOLLOW) ? CRT_FS_OTHER : crt__kind_of(st.st_mode);
    }
}
// The next entry: its name, or NULL and errno (0: there is none).
static const char *crt__os_readdir(crt__os_dir *d, uint64_t *ino, uint32_t *kind)
{
    struct dirent *e;
    errno = 0;
    while ((e = readdir(d)) && crt__is_dot(e->d_name)) errno = 0;
    if (!e) return NULL;
    *ino = e->d_ino;
    *kind = crt__entry_kind(dirfd(d), e);
    return e->d_name;
}
#endif
// Takes d->next into the batch, if there is room.
static bool crt__dir_take(crt_dir *d)
{
    size_t n = strlen(d->next) + 1;
    if (d->count == CRT__DIR_BATCH || n > CRT__DIR_TEXT - d->text_n) return false;
    d->entry[d->count++] = (crt_fs_dirent){memcpy(d->text + d->text_n, d->next, n), d->next_ino, d->next_kind, 0};
    d->text_n += n;
    d->next = NULL;
    return true;
}
// Fills the batch. An error is told only when there is nothing before it to hand out.
static CRT__COLD intptr_t crt__dir_next_run(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    crt_dir *d = c->file->dir;
    intptr_t r = 0;
    d->at = d->count = 0;
    d->text_n = 0;
    do {
        if (!d->next) d->next = crt__os_readdir(d->stream, &d->next_ino, &d->next_kind);
        if (!d->next && !d->count) r = -errno;
    } while (d->next && crt__dir_take(d));
    crt__fs_end(c, true);
    return r;
}
CRTDEF crt_poll crt_dir_next(crt_cx *cx, crt_dir *d, crt_fs_dirent *e)
{
    crt_file *f = d ? &d->file : NULL;
    bool started = crt__fs_started(cx, crt__dir_next_run, f);
    size_t n = 0;
    crt__fs *c;
    crt_poll r = crt__turn_enter(cx, &f, &n, started, e != NULL);
    if (r == 0) {
        if (!(c = crt__fs_new(0, crt__dir_next_run))) return crt__file_unref(f), CRT_ENOMEM;
        c->file = f;
        r = crt__turn_take(cx, f, c);
        if (r == 0 && f->dir->at == f->dir->count) return crt__call_start(cx, &crt__op_file, &c->call);
        if (r != 0) return crt__call_unref(&c->call), r;
    } else {
        if (r != 1) return r;
        if (!(c = (crt__fs *)crt__call_result(cx))) return CRT_PENDING;
        r = c->call.result;
    }
    d = c->file->dir;
    if (r == 0 && d->at < d->count) {
        *e = d->entry[d->at++];
        r = 1;
    }
    crt__fs_drop(c);
    return r;
}
CRTDEF void crt_dir_close(crt_dir **d)
{
    crt_dir *old = d ? *d : NULL;
    if (!old) return;
    *d = NULL;
    crt__file_unref(&old->file);
}

// --- whole files

static intptr_t crt__read_all(crt__call *call, int fd, size_t most)
{
    crt__fs *c = (crt__fs *)call;
    size_t room = 0;
    intptr_t k;
    // A hint for the first buffer, which files that are not plain do not give.
    crt_fs_stat st;
    size_t hint = 4096;
    if (!crt__os_fstat(fd, &st) && st.kind == CRT_FS_FILE && st.size > 0) {
        if (st.size > most) return -EFBIG;
        hint = (size_t)crt__min(st.size, (uint64_t)1 << 30) + 2;
    }
    do {
        if (crt__call_abandoned(call)) return CRT_ECANCELED;
        if (!crt__grow(&c->out, c->out_n, &room, hint)) return CRT_ENOMEM;
        size_t some = crt__min(room - c->out_n - 1, (size_t)INT_MAX);   // more is refused on macOS
        while ((k = crt__os_read(fd, (char *)c->out + c->out_n, some)) < 0 && errno == EINTR) {}
        if (k < 0) return -errno;
        c->out_n += (size_t)k;
        if (c->out_n > most) return -EFBIG;
    } while (k > 0);
    ((char *)c->out)[c->out_n] = 0;
    return 0;
}
static CRT__COLD intptr_t crt__fs_read_run(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    int fd = crt__open(c->a, O_RDONLY | CRT__O_QUIET, 0);
    size_t most;
    if (fd < 0) return -errno;
    memcpy(&most, c->data, sizeof most);
    intptr_t r = crt__read_all(call, fd, most);
    crt__file_fd_close(fd);
    return r;
}
static CRT__COLD intptr_t crt__fs_write_run(crt__call *call)
{
    crt__fs *c = (crt__fs *)call;
    intptr_t r = 0;
    int fd = crt__open(c->a, O_WRONLY | O_CREAT | O_TRUNC | CRT__O_QUIET, 0666);
    if (fd < 0) return -errno;
    for (size_t done = 0; done < c->n && r == 0;) {
        intptr_t k = crt__os_write(fd, c->data + done, crt__min(c->n - done, (size_t)INT_MAX));
        if (k > 0) done += (size_t)k;
        else if (k == 0) r = -EIO;   // and would be 0 for ever
        else if (errno != EINTR) r = -errno;
    }
    if (crt__os_close(fd) && r == 0 && errno != EINTR) r = -errno;
    return r;
}
CRTDEF crt_poll crt_fs_read_file_max(crt_cx *cx, const char *path, size_t most, void **data, size_t *n)
{
    crt__fs *c;
    if (!data || !n) return crt__refuse(cx, CRT_EINVAL);
    *data = NULL;
    *n = 0;
    crt_poll r = crt__fs_call(cx, crt__fs_read_run, path, "", &most, sizeof most, 0, &c);
    if (!c) return r;
    if (r == 0) {
        *data = c->out;
        *n = c->out_n;
        c->out = NULL;
    }
    crt__call_unref(&c->call);
    return r;
}
CRTDEF crt_poll crt_fs_read_file(crt_cx *cx, const char *path, void **data, size_t *n)
{
    return crt_fs_read_file_max(cx, path, SIZE_MAX, data, n);
}
CRTDEF crt_poll crt_fs_write_file(crt_cx *cx, const char *path, const void *data, size_t n)
{
    crt__fs *c;
    crt_poll r = crt__fs_call(cx, crt__fs_write_run, path, "", data, n, 0, &c);
    if (c) crt__call_unref(&c->call);
    return r;
}
#endif   // CRT_NO_FS

// ---------------------------------------------------------------------------
// >>signal        signals through a pipe
// ---------------------------------------------------------------------------
// The handler does two things that a handler may do: it raises a flag and writes
// a byte into a pipe. Every runtime that has waited for a signal watches that
// pipe; whichever wakes first takes the flags, counts each signal's number up,
// and wakes all who wait for it, in any runtime. A task remembers the last number
// that it saw, so it misses nothing between two calls; several at once are one.

#ifdef CRT__BARE
CRTDEF crt_poll crt_signal_recv(crt_cx *cx, int sig)
{
    (void)sig;
    crt__say(cx->rt, CRT_LOG_ERROR, "crt_signal_recv: there are no signals here");
    return crt__refuse(cx, CRT_ENODRIVER);
}
CRTDEF crt_poll crt_ctrl_c(crt_cx *cx) { return crt_signal_recv(cx, 0); }
#else
#ifdef __FreeBSD__
enum { CRT__SIGNALS = 127 };   // real-time signals go up to 126 there
#else
enum { CRT__SIGNALS = 65 };
#endif
static struct {
    uint32_t lock;                      // over all but `raised`
    bool ready;
    int pipe[2];
    uint8_t installed[CRT__SIGNALS];    // atomic for who does not have the lock
    uint32_t raised[CRT__SIGNALS];      // atomic: set by the handler
    uint64_t count[CRT__SIGNALS];
    crt_slot *waiters;                  // slot.extra: the signal
} crt__signals;

typedef struct crt__ext_signal {
    crt__ext ext;
    int sig;
    uint64_t seen;
} crt__ext_signal;

static void crt__signal_set(int sig) { crt__atomic_store(&crt__signals.raised[sig], 1, CRT__SEQ_CST); }
#ifdef _WIN32
static bool crt__signal_is_hooked(int sig) { return crt__atomic_load(&crt__signals.installed[sig], CRT__ACQUIRE) != 0; }
#endif
#ifndef _WIN32
static void crt__signal_handler(int sig)
{
    int e = errno;
    crt__signal_set(sig);
    crt__pipe_wake(crt__signals.pipe[1]);
    errno = e;
}
static void crt__signal_drain(void) { crt__pipe_drain(crt__signals.pipe[0]); }
// This runtime watches the pipe from now on. 0 or an error.
static int crt__signal_subscribe(crt_runtime *rt)
{
    if (!crt__signals.ready) {
        int e = crt__pipe(crt__signals.pipe, true);
        if (e) return e;
        crt__signals.ready = true;
    }
    if (rt->signal_registered) return 0;
    int twin = fcntl(crt__signals.pipe[0], F_DUPFD_CLOEXEC, 3);
    if (twin < 0) return -errno;
    int e = crt__reactor_add(rt->reactor, twin, CRT__SIGNAL_TOKEN);
    if (e) return close(twin), e;
    rt->signal_registered = (uint32_t)twin + 1;
    crt__atomic_add(&rt->fd_registered, 1, CRT__RELAXED);
    return 0;
}
static int crt__signal_hook(int sig)
{
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = crt__signal_handler;
    sa.sa_flags = SA_RESTART;
    sigemptyset(&sa.sa_mask);
    return sigaction(sig, &sa, NULL) ? -errno : 0;
}
static bool crt__signal_allowed(int sig)
{
    return sig > 0 && sig < CRT__SIGNALS && sig != SIGKILL && sig != SIGSTOP && sig != SIGSEGV &&
           sig != SIGILL && sig != SIGFPE && sig != SIGBUS;
}
#endif
static void crt__signal_unlink(crt_slot *slot)
{
    if (slot->prev) slot->prev->next = slot->next;
    else crt__signals.waiters = slot->next;
    if (slot->next) slot->next->prev = slot->prev;
}
// Counts a signal that was raised, and has those woken who wait for it. Under the lock; afterwards:
// crt__signal_tell.
typedef struct crt__signal_news {
    crt__list ready;
    bool child;
} crt__signal_news;
static void crt__signal_take(int sig, crt__signal_news *news)
{
    if (!crt__atomic_load(&crt__signals.raised[sig], CRT__RELAXED)) return;
    (void)crt__atomic_xchg(&crt__signals.raised[sig], 0, CRT__SEQ_CST);   // taken back here alone, under the lock
    crt__signals.count[sig]++;
#ifdef SIGCHLD
    if (sig == SIGCHLD) news->child = true;
#endif
    for (crt_slot *s = crt__signals.waiters, *after; s; s = after) {
        after = s->next;
        if (s->extra != (uint32_t)sig) continue;
        crt__signal_unlink(s);
        s->state = CRT__WAIT_WOKEN;
        crt__wake_into(&news->ready, s->task);
    }
}
static void crt__signal_tell(crt__signal_news *news)
{
    crt__submit_list(&news->ready);
    if (news->child) crt__process_heard();
}
// The pipe is readable: hand out what was raised.
static void crt__signal_wake(crt_runtime *rt)
{
    crt__signal_news news = {{NULL, NULL}, false};
    (void)rt;
    crt__signal_drain();
    crt__lock(&crt__signals.lock);
    for (int sig = 1; sig < CRT__SIGNALS; sig++) crt__signal_take(sig, &news);
    crt__unlock(&crt__signals.lock);
    crt__signal_tell(&news);
}
static CRT__COLD void crt__op_signal_cancel(crt_slot *slot)
{
    crt__lock(&crt__signals.lock);
    if (slot->state == CRT__WAIT_QUEUED) crt__signal_unlink(slot);
    crt__unlock(&crt__signals.lock);
}
static const crt__op crt__op_signal = {"signal", crt__op_signal_cancel};

// Under the signal lock. 0 or an error.
static CRT__COLD int crt__signal_install(crt_runtime *rt, int sig)
{
    int e = crt__signal_subscribe(rt);
    if (e || crt__signals.installed[sig]) return e;
    e = crt__signal_hook(sig);
    if (!e) crt__atomic_store(&crt__signals.installed[sig], 1, CRT__RELEASE);
    return e;
}
// What this task has seen of a signal; from its first call on. What was raised before, while no runtime
// listened perhaps, is taken first: it is not for this task.
static CRT__COLD crt__ext_signal *crt__signal_memory(crt_task *t, int sig, crt__signal_news *news)
{
    for (crt__ext *e = t->ext; e; e = e->next)
        if (e->kind == CRT__EXT_SIGNAL && ((crt__ext_signal *)(void *)e)->sig == sig)
            return (crt__ext_signal *)(void *)e;
    crt__ext_signal *m = crt__ext_add(t, CRT__EXT_SIGNAL, sizeof *m);
    if (!m) return NULL;
    m->sig = sig;
    crt__signal_take(sig, news);
    m->seen = crt__signals.count[sig];
    crt__ext_publish(t, m);
    return m;
}
CRTDEF crt_poll crt_signal_recv(crt_cx *cx, int sig)
{
    crt_runtime *rt = cx->rt;
    crt_slot *slot = cx->slot;
    crt_poll r = CRT_PENDING;
    if (!crt__leaf(cx, &crt__op_signal, &crt__signals.raised[crt__signal_allowed(sig) ? sig : 0])) return CRT_UNWIND;
    if (!crt__signal_allowed(sig)) return crt__refuse(cx, CRT_EINVAL);
    if (!rt->reactor || !(rt->config.drivers & CRT_DRIVER_SIGNAL)) {
        crt__say(rt, CRT_LOG_ERROR,
                 "waiting for a signal (Ctrl-C too) needs CRT_DRIVER_SIGNAL and CRT_DRIVER_IO in crt_config.drivers");
        return crt__refuse(cx, CRT_ENODRIVER);
    }
    crt__signal_news news = {{NULL, NULL}, false};
    crt__lock(&crt__signals.lock);
    int e = crt__signal_install(rt, sig);
    crt__ext_signal *m = e ? NULL : crt__signal_memory(cx->task, sig, &news);
    if (!m) {
        r = e ? e : CRT_ENOMEM;
    } else if (m->seen != crt__signals.count[sig]) {
        m->seen = crt__signals.count[sig];
        r = 0;
    }
    if (r != CRT_PENDING) {
        CRT_ASSERT(!slot->op || slot->state != CRT__WAIT_QUEUED);   // what counts up has woken all that wait for it
        slot->op = NULL;
    } else if (!slot->op || slot->state != CRT__WAIT_QUEUED) {
        crt__slot_park(cx, slot, &crt__op_signal, &crt__signals.raised[sig]);
        slot->state = CRT__WAIT_QUEUED;
        slot->extra = (uint32_t)sig;
        slot->next = crt__signals.waiters;
        if (slot->next) slot->next->prev = slot;
        crt__signals.waiters = slot;
    }
    crt__unlock(&crt__signals.lock);
    crt__signal_tell(&news);
    return r < 0 && r != CRT_PENDING ? crt__refuse(cx, r) : r;
}
CRTDEF crt_poll crt_ctrl_c(crt_cx *cx) { return crt_signal_recv(cx, SIGINT); }
#endif   // CRT__BARE

// ---------------------------------------------------------------------------
// >>process       child processes
// ---------------------------------------------------------------------------
// A spawn is one call (see >>calls): the job makes the pipes, starts the child and
// watches it, so that what the task takes is whole, and what nobody takes is killed.
// vfork, since it costs the same however much memory this process has: the child runs
// on the memory of the parent, which stands still until the child executes. So between
// the two there is nothing but system calls, on what was laid out before, and ids are
// set without the C library, which would set them for the parent's threads. An error
// comes back through a pipe that a successful execve closes.
//
// A child that changes its ids is made by fork: on shared memory Linux would take the
// parent's dumpable flag away for good, as it does with the memory of whoever changes
// ids, and who has the new ids could stop it while the parent stands still, not to be
// killed either. Putting the flag back would race with other spawns, and cannot restore each
// of its values. In a child of fork as of vfork: nothing but system calls.
//
// All children are in one list, and each has a record, which is what tasks wait for. The
// reactor tells it of the end through the pidfd or EVFILT_PROC; where there is none it has
// no descriptor, and whoever hears SIGCHLD tells all such. A child whose handle is gone
// stays in the list, and each such event, spawn and close sweeps it: no thread, no task
// and no memory is needed to reap it.
// Under the lock: what has been reaped, so that no signal goes to a number that is
// another's by now.

#ifndef CRT_NO_PROCESS
#ifdef _WIN32
#define CRT__SIGKILL 9   // the C library has none
#else
#define CRT__SIGKILL SIGKILL
#include <sys/wait.h>
#ifdef __APPLE__
#include <crt_externs.h>
#define CRT__ENVIRON (*_NSGetEnviron())   // a shared library has no environ there
#else
#ifndef __linux__
extern char **environ;
#endif
#define CRT__ENVIRON environ
#endif
#endif

struct crt_process {
    crt_process *next, *prev;
    crt_runtime *rt;        // a reference, until the runtime has ended and the handle is gone
    crt__sock *sock;        // its record; NULL: not any more, or there was no memory for it
    crt_stream *io[3];      // atomic: the other ends of its pipes
    int pid;
    bool reaped, lost;      // `lost`: somebody else took its status
    bool closed, kill_on_drop, own_group;
    crt_exit_status status;
#ifdef _WIN32
    crt__win_child child;
#endif
};
static struct {
    uint32_t lock;
    crt_process *first;
} crt__children;

CRTDEF bool crt_exit_ok(const crt_exit_status *status) { return !status->signal && !status->code; }

#ifdef _WIN32
static int crt__process_reap(crt_process *p)
{
    if (!p->reaped) p->reaped = crt__win_child_ended(&p->child, &p->status);
    return p->reaped;
}
static int crt__process_send(crt_process *p, int sig, bool group)
{
    return crt__win_child_kill(&p->child, p->pid, sig, group);
}
#else
// Under the lock. 1: it has ended, 0: not yet, or -ECHILD.
static CRT__COLD int crt__process_reap(crt_process *p)
{
    siginfo_t info;
    int e;
    memset(&info, 0, sizeof info);
    if (!p->reaped) {
        // Tried again when interrupted: what told of the end tells only once.
        while ((e = waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG)) < 0 && errno == EINTR) {}
        if (e) {
            if (errno != ECHILD) return 0;
            p->lost = true;
        } else if (!info.si_pid) {
            return 0;
        }
        bool exited = info.si_code == CLD_EXITED;
        p->status.code = exited ? info.si_status & 0xff : -1;   // FreeBSD and macOS give all 32 bits
        p->status.signal = exited ? 0 : info.si_status;
        p->status.core_dumped = info.si_code == CLD_DUMPED;
        p->reaped = true;
    }
    return p->lost ? -ECHILD : 1;
}
// Another part of the program may have waited for it: then its number may be another's by now.
static int crt__process_send(crt_process *p, int sig, bool group)
{
    siginfo_t info;
    int e;
    while ((e = waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT)) < 0 && errno == EINTR) {}
    if (e && errno == ECHILD) return -ESRCH;
    return kill(group ? -p->pid : p->pid, sig) ? -errno : 0;
}
#endif
static void crt__process_link(crt_process *p)
{
    crt__lock(&crt__children.lock);
    p->next = crt__children.first;
    if (p->next) p->next->prev = p;
    crt__children.first = p;
    crt__unlock(&crt__children.lock);
}
// Under the lock.
static void crt__process_unlink(crt_process *p)
{
    if (p->prev) p->prev->next = p->next;
    else crt__children.first = p->next;
    if (p->next) p->next->prev = p->prev;
}
enum { CRT__CHILD_OPEN = 1, CRT__CHILD_CLOSED = 2 };   // what a record says of its child: closed ones may be swept
// Release: who sees it sees the record's generation too (crt__process_look_again).
static void crt__process_watched(crt__sock *s) { crt__atomic_store(&s->child, CRT__CHILD_OPEN, CRT__RELEASE); }
#ifndef _WIN32
// What a record without a pidfd is made of: nothing.
static void crt__by_signal_close(crt__sock *s) { (void)s; }
static const crt__soft_ops crt__by_signal_ops = {NULL, NULL, NULL, crt__by_signal_close, false, NULL};
static crt__soft crt__by_signal = {&crt__by_signal_ops};
static crt__soft crt__by_nobody = {&crt__by_signal_ops};   // it is gone: there is nothing to tell

static bool crt__process_by_signal(crt__sock *s) { return crt__sock_is_soft(s) && s->u.soft == &crt__by_signal; }
// SIGCHLD has come. Any child that only it tells of may be the one; who waits looks for himself.
static CRT__COLD void crt__process_heard(void)
{
    crt_task *ready = NULL;
    crt__lock(&crt__children.lock);
    for (crt_process *p = crt__children.first; p; p = p->next) {
        crt__sock *s = p->sock;   // held by a handle, unless it is closed
        if (p->closed || !s || !crt__process_by_signal(s)) continue;
        crt__sock_lock(s);
        uint64_t word = crt__sock_tick(s, crt__sock_word(s), CRT__READABLE);
        ready = crt__sock_collect_unlock(s, word, CRT__READABLE, CRT__WAIT_WOKEN, ready);
    }
    crt__unlock(&crt__children.lock);
    crt__submit_chain(ready);
    crt__process_sweep();
}
#endif
static void crt__process_unwatch(crt__sock *s)
{
    if (!s) return;
    crt__atomic_store(&s->child, 0, CRT__RELAXED);
    crt__sock_unref(s);
}
static void crt__process_free(crt_process *p)
{
    crt_runtime *rt = p->rt;
    crt__process_unwatch(p->sock);
#ifdef _WIN32
    crt__win_child_close(&p->child);
#endif
    CRT_FREE(p);
    if (rt) crt__rt_unref(rt);
}
// Reaps what has ended of the children that nobody has a handle of.
static CRT__COLD void crt__process_sweep(void)
{
    crt_process *gone = NULL;
    crt__lock(&crt__children.lock);
    for (crt_process *p = crt__children.first, *after; p; p = after) {
        after = p->next;
        if (!p->closed || !crt__process_reap(p)) continue;
        crt__process_unlink(p);
        p->next = gone;
        gone = p;
    }
    crt__unlock(&crt__children.lock);
    for (crt_process *p; (p = gone);) {
        gone = p->next;
        crt__process_free(p);
    }
}
// One round: kills those of a runtime that are to die with it. True: one still lives.
static bool crt__process_kill_round(crt_runtime *rt)
{
    bool left = false;
    crt__lock(&crt__children.lock);
    for (crt_process *p = crt__children.first; p; p = p->next) {
        if (p->rt != rt || !p->kill_on_drop || crt__process_reap(p)) continue;
        (void)crt__process_send(p, CRT__SIGKILL, false);
        left = true;
    }
    crt__unlock(&crt__children.lock);
    return left;
}
// A child without a handle, of a runtime that has ended. It lets go of the runtime.
static bool crt__process_orphan(crt_runtime *rt)
{
    crt_process *p;
    crt__sock *s = NULL;
    crt__lock(&crt__children.lock);
    for (p = crt__children.first; p && !(p->closed && p->rt == rt);) p = p->next;
    if (p) {
        s = p->sock;
        p->sock = NULL;
        p->rt = NULL;
    }
    crt__unlock(&crt__children.lock);
    if (!p) return false;
    crt__process_unwatch(s);
    crt__rt_unref(rt);
    return true;
}
// The runtime has ended: nobody looks at its reactor any more.
static CRT__COLD void crt__process_end_all(crt_runtime *rt)
{
    int64_t until = crt__clock() + CRT_SEC(1);
    uint32_t never = 0;
    while (crt__process_kill_round(rt)) {
        if (crt__clock() >= until) {
            crt__say(rt, CRT_LOG_WARN, "shutdown: a child process did not end within 1 s of SIGKILL");
            break;
        }
        crt__futex_wait(&never, 0, CRT_MS(1));
    }
    crt__process_sweep();
    while (crt__process_orphan(rt)) {}
}

// --- handles

CRTDEF void crt_process_close(crt_process **at)
{
    crt_process *p = at ? *at : NULL;
    if (!p) return;
    *at = NULL;
    crt_runtime *rt = p->rt;
    crt__sock *s = p->sock;
    for (int i = 0; i < 3; i++) crt_stream_close(&p->io[i]);
    crt__atomic_add(&rt->refs, 1, CRT__RELAXED);
    if (s) crt__atomic_add(&s->refs, 1, CRT__RELAXED);
    crt__lock(&crt__children.lock);
    if (p->kill_on_drop && !crt__process_reap(p)) (void)crt__process_send(p, CRT__SIGKILL, false);
    p->closed = true;   // from here on it may be swept
    if (s) crt__atomic_store(&s->child, CRT__CHILD_CLOSED, CRT__RELAXED);   // who waited asks under the lock
    crt__unlock(&crt__children.lock);
    // An event, so that who is on the way to wait, and has looked before, does not wait.
    if (s) (void)crt__sock_event(rt, crt__sock_token(s), CRT__READ_CLOSED);
    crt__process_sweep();
    if (s) crt__sock_unref(s);
    if (crt__atomic_load(&rt->ended, CRT__SEQ_CST)) crt__process_end_all(rt);
    crt__rt_unref(rt);
}
CRTDEF int crt_process_signal(crt_process *p, int sig)
{
    if (!p) return CRT_EINVAL;
    crt__lock(&crt__children.lock);
    int e = p->reaped ? -ESRCH : crt__process_send(p, sig, false);
    crt__unlock(&crt__children.lock);
    return e;
}
CRTDEF int crt_process_signal_group(crt_process *p, int sig)
{
    if (!p || !p->own_group) return CRT_EINVAL;
    crt__lock(&crt__children.lock);
    int e = p->reaped ? -ESRCH : crt__process_send(p, sig, true);
    crt__unlock(&crt__children.lock);
    return e;
}
CRTDEF int crt_process_kill(crt_process *p) { return crt_process_signal(p, CRT__SIGKILL); }
CRTDEF int crt_process_id(const crt_process *p)
{
    if (!p) return 0;
    crt__lock(&crt__children.lock);
    int pid = p->reaped ? 0 : p->pid;
    crt__unlock(&crt__children.lock);
    return pid;
}
// Under the lock.
static int crt__process_look(crt_process *p, crt_exit_status *status)
{
    int r = crt__process_reap(p);
    if (r == 1 && status) *status = p->status;
    return r;
}
CRTDEF int crt_process_try_wait(crt_process *p, crt_exit_status *status)
{
    if (!p) return CRT_EINVAL;
    crt__lock(&crt__children.lock);
    int r = crt__process_look(p, status);
    crt__unlock(&crt__children.lock);
    return r;
}
// A child that nothing will tell of, and that nobody has seen: dead and looked at when this returns.
static CRT__COLD void crt__process_kill_now(crt_process *p)
{
    int64_t until = crt__clock() + CRT_SEC(1);
    (void)crt_process_kill(p);
    while (!crt_process_try_wait(p, NULL) && crt__clock() < until) crt__nap();
}
static CRT__OUTLINE crt_stream *crt__process_take(crt_process *p, int i)
{
    return p ? crt__atomic_xchg(&p->io[i], NULL, CRT__ACQ_REL) : NULL;
}
// Several tasks may begin to wait at once.
static void crt__process_close_stdin(crt_process *p)
{
    crt_stream *s = crt__process_take(p, 0);
    crt_stream_close(&s);
}
CRTDEF crt_stream *crt_process_take_stdin(crt_process *p) { return crt__process_take(p, 0); }
CRTDEF crt_stream *crt_process_take_stdout(crt_process *p) { return crt__process_take(p, 1); }
CRTDEF crt_stream *crt_process_take_stderr(crt_process *p) { return crt__process_take(p, 2); }

static const crt__op crt__op_process = {"process", crt__io_cancel};

// Before a child is looked at for the first time, so that no end is missed between: where only
// SIGCHLD tells of it, a runtime has to listen, the waiter's or the child's. 0 or an error.
static int crt__process_listen(crt_cx *cx, crt__sock *s)
{
    int e = 0;
#ifndef _WIN32
    crt_runtime *rt = cx->rt->config.drivers & CRT_DRIVER_SIGNAL ? cx->rt : s->rt;
    if (!crt__process_by_signal(s)) return 0;
    if (!(rt->config.drivers & CRT_DRIVER_SIGNAL)) {
        crt__say(cx->rt, CRT_LOG_ERROR,
                 "crt_process_wait needs CRT_DRIVER_SIGNAL in crt_config.drivers where there are no pidfds");
        return CRT_ENODRIVER;
    }
    crt__lock(&crt__signals.lock);
    e = crt__signal_install(rt, SIGCHLD);
    crt__unlock(&crt__signals.lock);
#endif
    (void)cx, (void)s;
    return e;
}
// For who has waited, whatever for: meanwhile the child may have been closed, and swept. Its record tells: what
// is not closed under the lock is still there. The word first, then whether the record is still that child's: of one
// that has changed hands the word may be the next child's, and then the generation is too.
static int crt__process_look_again(crt_slot *slot, crt__sock *s, crt_process *p, crt_exit_status *status)
{
    crt__lock(&crt__children.lock);
    bool closed = crt__atomic_load(&s->child, CRT__ACQUIRE) != CRT__CHILD_OPEN ||
                  crt__wait_generation(slot) != crt__sock_generation(s);
    int r = closed ? CRT_ECLOSED : crt__process_look(p, status);
    crt__unlock(&crt__children.lock);
    return r;
}
// Which child it waits for is kept in the slot (value): with NULL in its place, which crt_close
// leaves there, or with a copy of the pointer, the wait goes on to hear that it is closed.
CRTDEF crt_poll crt_process_wait(crt_cx *cx, crt_process *p, crt_exit_status *status)
{
    crt_slot *slot = cx->slot;
    bool waited = slot->op == &crt__op_process && (!p || slot->value == (uintptr_t)p);
    crt__sock *s = waited ? slot->object : p ? p->sock : NULL;
    crt_poll r;
    int deaf;
    if (!crt__leaf(cx, &crt__op_process, s)) return CRT_UNWIND;
    if (waited) {
        p = (crt_process *)(uintptr_t)slot->value;
        if ((r = crt__io_resume(cx)) != 0) return r;
        if (!crt__io_hold_open(cx, s)) return CRT_ECLOSED;
        deaf = crt__process_listen(cx, s);   // it may be the budget alone that it has waited for
        crt__sock_unref(s);
    } else {
        if (!p) return crt__refuse(cx, CRT_EINVAL);
        crt__process_close_stdin(p);
        if (!crt__coop(cx)) {
            crt__io_hold(cx, s, &crt__op_process, (uintptr_t)p);
            return CRT_PENDING;
        }
        deaf = crt__process_listen(cx, s);
    }
    for (;;) {
        uint64_t seen = crt__atomic_load(&s->ready, CRT__ACQUIRE);
        int ended = waited ? crt__process_look_again(slot, s, p, status) : crt_process_try_wait(p, status);
        if (ended || deaf || (seen & CRT__IO_SHUTDOWN)) {
            crt__io_end(s, slot);
            return ended ? crt__min(ended, 0) : deaf ? deaf : CRT_ESHUTDOWN;
        }
        crt__ready_clear(s, seen, CRT__FOR_READ);
        r = crt__io_park(cx, s, &crt__op_process, CRT__FOR_READ);
        slot->value = (uintptr_t)p;
        if (r != 0) return r;
    }
}

// --- spawning

#ifdef _WIN32
typedef struct crt__start {
    crt__call call;
    crt_runtime *rt;
    crt_process *p;           // not yet handed out
    crt__win_start with;
    HANDLE pipe[3];           // our ends; NULL: none
    bool wants_pipe[3];
} crt__start;

// Our end of a pipe becomes a stream. On failure it is closed.
static int crt__start_stream(crt__start *c, int i)
{
    HANDLE h = c->pipe[i];
    c->pipe[i] = NULL;
    return h ? crt__win_pipe_stream(c->rt, h, i == 0, &c->p->io[i]) : 0;
}
static void crt__start_clean(crt__call *call)
{
    crt__start *c = (crt__start *)call;
    crt_process *p = c->p;
    crt__win_start_free(&c->with);
    for (int i = 0; i < 3; i++)
        if (c->pipe[i]) CloseHandle(c->pipe[i]);
    c->pipe[0] = c->pipe[1] = c->pipe[2] = NULL;
    c->p = NULL;
    if (p && p->pid) {   // it runs, and nobody took it
        p->kill_on_drop = true;
        if (!p->sock) crt__process_kill_now(p);
        crt_process_close(&p);
    } else if (p) {
        crt__process_free(p);
    }
}
static intptr_t crt__start_run(crt__call *call)
{
    crt__start *c = (crt__start *)call;
    int e = 0;
    for (int i = 0; i < 3 && !e; i++)
        if (c->wants_pipe[i]) e = crt__win_pipe_handles(i == 0, false, &c->pipe[i], &c->with.io[i]);
    if (!e) e = crt__win_child_start(&c->with, &c->p->child, &c->p->pid);
    crt__win_start_free(&c->with);
    if (!e) {
        e = crt__win_child_watch(c->rt, &c->p->child, &c->p->sock);
        if (!e) crt__process_watched(c->p->sock);
        crt__process_link(c->p);
        for (int i = 0; i < 3 && !e; i++) e = crt__start_stream(c, i);
    }
    if (e) crt__start_clean(call);
    return e;
}
static int crt__start_stdio(crt__start *c, const crt_stdio *io, int as)
{
    switch (io->kind) {
    case CRT_STDIO_INHERIT: return crt__win_inheritable(crt__stdio_handle(as), &c->with.io[as]);
    case CRT_STDIO_NULL: return crt__win_null(&c->with.io[as]);
    case CRT_STDIO_PIPE: c->wants_pipe[as] = true; return 0;
    case CRT_STDIO_FD:   // some below 0 name this process and thread
        return io->fd <= 0 || crt__win_inheritable((HANDLE)io->fd, &c->with.io[as]) ? -EBADF : 0;
    case CRT_STDIO_STREAM: {
        crt__sock *s = io->stream ? (crt__sock *)*io->stream : NULL;
        if (!s) return CRT_EINVAL;
        if (crt__atomic_load(&s->refs, CRT__ACQUIRE) != 1) return CRT_EBUSY;
        HANDLE h = crt__sock_is_soft(s) ? crt__win_pipe_handle(s) : (HANDLE)s->fd;
        int e = h ? crt__win_inheritable(h, &c->with.io[as]) : -EBADF;
        if (!e) crt_stream_close(io->stream);
        return e;
    }
    case CRT_STDIO_STDOUT: c->with.err_to_out = true; return as == 2 ? 0 : CRT_EINVAL;
    default: return CRT_EINVAL;
    }
}
// All that the job needs. 0, or an error, and nothing is left. Users, groups that are
// joined and descriptors by number are not of this system.
static int crt__start_new(crt_runtime *rt, const crt_process_desc *d, crt__start **out)
{
    *out = NULL;
    if (!d || !d->argv || !d->argv[0] || (d->fd_count && !d->fds) || d->group < CRT_PROCESS_NEW_GROUP)
        return CRT_EINVAL;
    if (d->set_uid || d->set_gid || d->fd_count || d->group > 0) return -ENOTSUP;
    crt__start *c = crt__call_new(sizeof *c, crt__start_run, crt__start_clean);
    if (!c) return CRT_ENOMEM;
    if ((c->p = CRT_MALLOC(sizeof *c->p))) {
        memset(c->p, 0, sizeof *c->p);
        c->p->rt = c->rt = rt;
        crt__atomic_add(&rt->refs, 1, CRT__RELAXED);
        c->p->kill_on_drop = d->kill_on_drop;
        c->p->own_group = d->new_session || d->group == CRT_PROCESS_NEW_GROUP;
        c->with.own_group = c->p->own_group;
        c->with.kill_on_drop = d->kill_on_drop;
    }
    const crt_stdio *io[3] = {&d->in, &d->out, &d->err};
    int e = c->p ? crt__win_start_text(&c->with, d) : CRT_ENOMEM;
    for (int i = 0; i < 3 && !e; i++)
        if (io[i]->kind != CRT_STDIO_STREAM) e = crt__start_stdio(c, io[i], i);
    for (int i = 0; i < 3 && !e; i++)   // last: little can fail after one has been taken
        if (io[i]->kind == CRT_STDIO_STREAM) e = crt__start_stdio(c, io[i], i);
    if (e) crt__call_unref(&c->call);
    else *out = c;
    return e;
}
#else
enum { CRT__SPAWN_FDS = 64, CRT__SPAWN_HIGHEST = 255 };
typedef struct crt__spawn_fd {
    int from, as, high;   // ours; its number there; ours, out of the way of all numbers
} crt__spawn_fd;
typedef struct crt__start {
    crt__call call;
    crt_runtime *rt;
    crt_process *p;                  // not yet handed out
    char **argv, **env, **tries;     // each ends with NULL
    const char *dir;
    bool new_session, set_uid, set_gid, err_to_out;
    uint32_t uid, gid;
    int group, base;                 // base: above every number of the child
    int count;
    int pipe[3];                     // our ends; -1: none
    bool wants_pipe[3];
    crt__spawn_fd fd[CRT__SPAWN_FDS + 3];
    char *strings[];
} crt__start;

static int crt__child_dup(int from, int as)
{
    int fd;
    while ((fd = dup2(from, as)) < 0 && errno == EINTR) {}
    return fd;
}
// Runs in the child, on the parent's memory or a copy. Does not return.
static __attribute__((noreturn)) void crt__child_run(crt__start *c, int report)
{
    int e = fcntl(report, F_DUPFD_CLOEXEC, c->base);
    if (e >= 0) report = e;
    for (int i = 0; e >= 0 && i < c->count; i++)
        e = c->fd[i].high = fcntl(c->fd[i].from, F_DUPFD_CLOEXEC, c->base);
    if (e >= 0) crt__child_close_from(3);
    for (int i = 0; e >= 0 && i < c->count; i++) e = crt__child_dup(c->fd[i].high, c->fd[i].as);
    if (e >= 0 && c->err_to_out) e = crt__child_dup(1, 2);
    if (e >= 0 && c->new_session) e = setsid();
    else if (e >= 0 && c->group) e = setpgid(0, crt__max(c->group, 0));
    if (e >= 0 && c->set_gid) e = crt__child_set_gid(c->gid);
    if (e >= 0 && c->set_uid) e = crt__child_set_uid(c->uid);
    if (e >= 0 && c->dir) e = chdir(c->dir);
    if (e >= 0) {
        struct sigaction act;
        sigset_t none;
        memset(&act, 0, sizeof act);
        act.sa_handler = SIG_DFL;
        for (int sig = 1; sig < CRT__SIGNALS; sig++) (void)sigaction(sig, &act, NULL);
        sigemptyset(&none);
        (void)pthread_sigmask(SIG_SETMASK, &none, NULL);
        int worst = ENOENT;
        for (char **path = c->tries; *path; path++) {
            execve(*path, c->argv, c->env);
            // Not looked for: whatever it is. Looked for: a directory without it says nothing.
            if (!c->tries[1] || (errno != ENOENT && errno != ENOTDIR)) worst = errno;
            if (worst != ENOENT && worst != EACCES) break;   // EACCES: a later directory may have one that runs
        }
        errno = worst;
    }
    e = errno;
    while (write(report, &e, sizeof e) < 0 && errno == EINTR) {}
    _exit(127);
}
// A frame of its own, which is not left while the child is on it.
#ifdef __APPLE__   // calls vfork deprecated, in favour of what cannot do all of the above
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"
#endif
static __attribute__((noinline)) int crt__child_start(crt__start *c, int report)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);   // a handler must not run in the child
    int pid = c->set_uid || c->set_gid ? fork() : vfork();
    if (pid == 0) crt__child_run(c, report);
    int e = errno;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return pid < 0 ? -e : pid;
}
#ifdef __APPLE__
#pragma clang diagnostic pop
#endif
static void crt__start_close_child(crt__start *c)
{
    for (int i = 0; i < c->count; i++) crt__fd_close(c->fd[i].from);
    c->count = 0;
}
static int crt__start_pipes(crt__start *c)
{
    for (int i = 0; i < 3; i++) {
        int fd[2];
        if (!c->wants_pipe[i]) continue;
        int e = crt__pipe(fd, false);
        if (e) return e;
        c->pipe[i] = fd[i == 0];
        c->fd[c->count++] = (crt__spawn_fd){fd[i != 0], i, -1};
    }
    return 0;
}
// A pid, or -errno: also what the child could not do, after which it is gone.
static int crt__start_child(crt__start *c)
{
    int report[2], failed = 0, e = crt__pipe(report, false);
    if (e) return e;
    int pid = crt__child_start(c, report[1]);
    crt__fd_close(report[1]);
    if (pid > 0) {
        ssize_t n;
        while ((n = read(report[0], &failed, sizeof failed)) < 0 && errno == EINTR) {}
        if (n < 0) {   // whether it has begun is not known: it has not
            failed = errno;
            (void)kill(pid, SIGKILL);
        }
        if (n != 0) {
            while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
            pid = -failed;
        }
    }
    crt__fd_close(report[0]);
    return pid;
}
// Our end of a pipe becomes a stream. On failure it is closed.
static int crt__start_stream(crt__start *c, int i)
{
    crt__sock *s;
    int fd = c->pipe[i];
    c->pipe[i] = -1;
    if (fd < 0) return 0;
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    crt__fd_set_sigpipe(fd, false);
    int e = crt__sock_new(c->rt, fd, crt__new_pipe_way(i == 0), &s);
    if (!e) s->flags = CRT__SOCK_FILE | CRT__SOCK_WHOLE;
    c->p->io[i] = (crt_stream *)s;
    return e;
}
// There are pidfds, and no room for this one. The program's SIGCHLD is not taken over for that.
static bool crt__is_shortage(int e)
{
    return e == CRT_ENOMEM || e == -EMFILE || e == -ENFILE || e == -ENOSPC;
}
// Without a pidfd. Who waits asks for SIGCHLD once more, and hears what was wrong. Where the program ignores
// SIGCHLD, the kernel may have reaped the child by now: -ESRCH, and who waits finds that out.
static CRT__COLD crt__sock *crt__start_watch_other(crt__start *c, int why)
{
    bool gone = why == -ESRCH && crt__process_reap(c->p);
    if (!gone && (c->rt->config.drivers & CRT_DRIVER_SIGNAL)) {
        crt__lock(&crt__signals.lock);
        (void)crt__signal_install(c->rt, SIGCHLD);
        crt__unlock(&crt__signals.lock);
    }
    return crt__soft_attach(c->rt, gone ? &crt__by_nobody : &crt__by_signal, 0);
}
// 0 or an error: nothing would tell of it.
static int crt__start_watch(crt__start *c)
{
    crt__sock **s = &c->p->sock;
    crt__fd fd = crt__pidfd_open(c->p->pid);
    int e = fd < 0 ? (int)fd : crt__sock_new(c->rt, fd, 0, s);
    if (crt__is_shortage(e)) return e;
    if (e && !(*s = crt__start_watch_other(c, e))) return CRT_ENOMEM;
    crt__process_watched(*s);
    return 0;
}
// What was not handed out: at once when the start has failed, so that nothing is open
// any more when the task hears of it.
static CRT__COLD void crt__start_clean(crt__call *call)
{
    crt__start *c = (crt__start *)call;
    crt_process *p = c->p;
    crt__start_close_child(c);
    for (int i = 0; i < 3; i++)
        if (c->pipe[i] >= 0) crt__fd_close(c->pipe[i]);
    c->pipe[0] = c->pipe[1] = c->pipe[2] = -1;
    c->p = NULL;
    if (p && p->pid) {   // it runs, and nobody took it
        p->kill_on_drop = true;
        if (!p->sock) crt__process_kill_now(p);
        crt_process_close(&p);
    } else if (p) {
        crt__process_free(p);
    }
}
static CRT__COLD intptr_t crt__start_run(crt__call *call)
{
    crt__start *c = (crt__start *)call;
    int e = crt__start_pipes(c);
    if (!e) e = crt__start_child(c);
    crt__start_close_child(c);
    if (e > 0) {
        c->p->pid = e;
        e = crt__start_watch(c);
        crt__process_link(c->p);
        for (int i = 0; i < 3 && !e; i++) e = crt__start_stream(c, i);
    }
    if (e) crt__start_clean(call);
    return e;
}

// Lays strings out behind an array of pointers: counted with `at` NULL, then written. Of an environment
// that somebody adds to in between, against the rules, nothing is written where there is no room.
typedef struct crt__layout {
    char **at;
    char *text;
    size_t count, bytes, most, room;
    bool over;
} crt__layout;

static bool crt__layout_fits(crt__layout *k, size_t n)
{
    if (k->count >= k->most || n > k->room - k->bytes) k->over = true;
    return !k->over;
}
static void crt__layout_add(crt__layout *k, const char *a, size_t an, const char *b)
{
    size_t bn = b ? strlen(b) : 0;
    if (k->at) {
        if (!crt__layout_fits(k, an + bn + 1)) return;
        char *to = k->text + k->bytes;
        k->at[k->count] = to;
        if (an) memcpy(to, a, an);
        if (bn) memcpy(to + an, b, bn);
        to[an + bn] = 0;
    }
    k->count++;
    k->bytes += an + bn + 1;
}
// Where the next array begins.
static size_t crt__layout_end(crt__layout *k)
{
    if (k->at) {
        if (!crt__layout_fits(k, 0)) return 0;
        k->at[k->count] = NULL;
    }
    return ++k->count;
}
static size_t crt__env_name(const char *entry) { return strcspn(entry, "="); }
// Does an entry of `env` speak of this name?
static const char *crt__env_says(const char *const *env, const char *name, size_t n)
{
    const char *last = NULL;
    for (; env && *env; env++)
        if (crt__env_name(*env) == n && !memcmp(*env, name, n)) last = *env;
    return last;
}
static void crt__layout_env(crt__layout *k, const crt_process_desc *d)
{
    for (char **e = d->env_clear ? NULL : CRT__ENVIRON; e && *e; e++)
        if (!crt__env_says(d->env, *e, crt__env_name(*e))) crt__layout_add(k, *e, strlen(*e), NULL);
    for (const char *const *e = d->env; e && *e; e++)
        if (strchr(*e, '=') && crt__env_says(d->env, *e, crt__env_name(*e)) == *e)
            crt__layout_add(k, *e, strlen(*e), NULL);
}
static const char *crt__env_path(const crt_process_desc *d)
{
    const char *e = crt__env_says(d->env, "PATH", 4);
    if (e) e = e[4] ? e + 5 : NULL;
    else if (!d->env_clear) e = getenv("PATH");
    return e ? e : "/bin:/usr/bin";
}
// Where the program may be.
static void crt__layout_tries(crt__layout *k, const char *program, const char *path)
{
    char *sep;
    if (strchr(program, '/')) {
        crt__layout_add(k, program, strlen(program), NULL);
        return;
    }
    for (bool more = *program != 0; more; path = sep + 1) {
        size_t n = strcspn(path, ":");
        sep = (char *)(uintptr_t)(path + n);
        more = *sep != 0;
        // "dir/" has to be one piece: the slash is what follows in the path, or made up.
        char place[1024];
        if (n >= sizeof place - 1) continue;
        memcpy(place, n ? path : ".", n ? n : 1);
        place[n ? n : 1] = '/';
        crt__layout_add(k, place, (n ? n : 1) + 1, program);
    }
}
typedef struct crt__layout_marks {
    size_t env, tries, dir;
} crt__layout_marks;
static CRT__COLD crt__layout_marks crt__layout_all(crt__layout *k, const crt_process_desc *d)
{
    crt__layout_marks m;
    for (const char *const *a = d->argv; *a; a++) crt__layout_add(k, *a, strlen(*a), NULL);
    m.env = crt__layout_end(k);
    crt__layout_env(k, d);
    m.tries = crt__layout_end(k);
    crt__layout_tries(k, d->program ? d->program : d->argv[0], crt__env_path(d));
    m.dir = crt__layout_end(k);
    crt__layout_add(k, d->dir ? d->dir : "", d->dir ? strlen(d->dir) : 0, NULL);
    return m;
}

static bool crt__is_open(intptr_t fd) { return fd >= 0 && fd <= INT_MAX && fcntl((int)fd, F_GETFD) >= 0; }
static int crt__start_add_fd(crt__start *c, intptr_t fd, int as)
{
    int twin = fcntl((int)fd, F_DUPFD_CLOEXEC, 3);
    if (twin < 0) return -errno;
    c->fd[c->count++] = (crt__spawn_fd){twin, as, -1};
    c->base = crt__max(c->base, as + 1);
    return 0;
}
static int crt__start_add_stream(crt__start *c, crt_stream **at, int as)
{
    crt__sock *s = at ? (crt__sock *)*at : NULL;
    if (!s) return CRT_EINVAL;
    if (crt__atomic_load(&s->refs, CRT__ACQUIRE) != 1) return CRT_EBUSY;
    int e = crt__start_add_fd(c, s->fd, as);
    int flags = fcntl((int)s->fd, F_GETFL);
    if (!e && flags >= 0) (void)fcntl((int)s->fd, F_SETFL, flags & ~O_NONBLOCK);
    if (!e) crt__fd_set_sigpipe(s->fd, true);
    if (!e) crt_stream_close(at);
    return e;
}
static int crt__start_stdio(crt__start *c, const crt_stdio *io, int as)
{
    int e = 0, fd;
    switch (io->kind) {
    case CRT_STDIO_INHERIT: return 0;
    case CRT_STDIO_NULL:
        while ((fd = open("/dev/null", O_RDWR | O_CLOEXEC)) < 0 && errno == EINTR) {}
        if ((fd = crt__fd_own(fd)) < 0) return -errno;
        c->fd[c->count++] = (crt__spawn_fd){fd, as, -1};
        return 0;
    case CRT_STDIO_PIPE: c->wants_pipe[as] = true; return 0;
    case CRT_STDIO_FD: return crt__start_add_fd(c, io->fd, as);
    case CRT_STDIO_STREAM: return crt__start_add_stream(c, io->stream, as);
    case CRT_STDIO_STDOUT:
        if (as != 2) e = CRT_EINVAL;
        c->err_to_out = true;
        return e;
    default: return CRT_EINVAL;
    }
}
// Looks at all numbers before it opens anything, which might get one that is not open.
// Streams come last: little can fail after one has been taken.
static CRT__COLD int crt__start_fds(crt__start *c, const crt_process_desc *d)
{
    const crt_stdio *io[3] = {&d->in, &d->out, &d->err};
    int e = 0;
    for (size_t i = 0; i < d->fd_count; i++) {
        if (d->fds[i].as < 0 || d->fds[i].as > CRT__SPAWN_HIGHEST) return CRT_EINVAL;
        if (!crt__is_open(d->fds[i].fd)) return -EBADF;
    }
    for (int i = 0; i < 3; i++)
        if (io[i]->kind == CRT_STDIO_FD && !crt__is_open(io[i]->fd)) return -EBADF;
    for (size_t i = 0; i < d->fd_count && !e; i++) e = crt__start_add_fd(c, d->fds[i].fd, d->fds[i].as);
    for (int i = 0; i < 3 && !e; i++)
        if (io[i]->kind != CRT_STDIO_STREAM) e = crt__start_stdio(c, io[i], i);
    for (int i = 0; i < 3 && !e; i++)
        if (io[i]->kind == CRT_STDIO_STREAM) e = crt__start_stdio(c, io[i], i);
    return e;
}
// All that the job needs. 0, or an error, and nothing is left.
static CRT__COLD int crt__start_new(crt_runtime *rt, const crt_process_desc *d, crt__start **out)
{
    crt__layout k = {NULL, NULL, 0, 0, 0, 0, false};
    *out = NULL;
    if (!d || !d->argv || !d->argv[0] || d->fd_count > CRT__SPAWN_FDS || (d->fd_count && !d->fds) ||
        d->group < CRT_PROCESS_NEW_GROUP)
        return CRT_EINVAL;
    crt__layout_all(&k, d);
    crt__start *c = crt__call_new(sizeof *c + k.count * sizeof(char *) + k.bytes, crt__start_run, crt__start_clean);
    if (!c) return CRT_ENOMEM;
    for (int i = 0; i < 3; i++) c->pipe[i] = -1;
    if ((c->p = CRT_MALLOC(sizeof *c->p))) {
        memset(c->p, 0, sizeof *c->p);
        c->p->rt = c->rt = rt;
        crt__atomic_add(&rt->refs, 1, CRT__RELAXED);
        c->p->kill_on_drop = d->kill_on_drop;
        c->p->own_group = d->new_session || d->group == CRT_PROCESS_NEW_GROUP;
    }
    k.at = c->strings;
    k.text = (char *)(c->strings + k.count);
    k.most = k.count;
    k.room = k.bytes;
    k.count = k.bytes = 0;
    crt__layout_marks m = crt__layout_all(&k, d);
    c->argv = c->strings;
    c->env = c->strings + m.env;
    c->tries = c->strings + m.tries;
    c->dir = d->dir ? c->strings[m.dir] : NULL;
    c->new_session = d->new_session;
    c->group = d->group;
    c->set_uid = d->set_uid;
    c->set_gid = d->set_gid;
    c->uid = d->uid;
    c->gid = d->gid;
    c->base = 3;
    int e = c->p && !k.over ? crt__start_fds(c, d) : CRT_ENOMEM;
    if (e) crt__call_unref(&c->call);
    else *out = c;
    return e;
}
#endif
static const crt__op crt__op_spawn = {"process spawn", crt__op_call_cancel};

CRTDEF crt_poll crt_process_spawn(crt_cx *cx, const crt_process_desc *desc, crt_process **p)
{
    crt_slot *slot = cx->slot;
    crt__start *c;
    if (!p) return crt__refuse(cx, CRT_EINVAL);
    *p = NULL;
    if (!crt__leaf(cx, &crt__op_spawn, slot->op == &crt__op_spawn ? slot->object : NULL)) return CRT_UNWIND;
    if (!slot->op) {
        if (!cx->rt->reactor) return crt__no_driver(cx, "crt_process_spawn");
        crt__process_sweep();
        int e = crt__start_new(cx->rt, desc, &c);
        return e ? crt__refuse(cx, e) : crt__call_begin(cx, &crt__op_spawn, &c->call);
    }
    if (!(c = (crt__start *)crt__call_paid(cx))) return CRT_PENDING;
    crt_poll r = c->call.result;
    if (r == 0) {
        *p = c->p;
        c->p = NULL;
    }
    crt__call_unref(&c->call);
    return r;
}

// --- output

static CRT__COLD crt_poll crt__collect_run(crt__collect *f, crt_cx *cx)
{
    CRT_BEGIN(f, cx);
    if (f->from) {
        CRT_AWAIT(f->r = crt_write_all(cx, f->stream, f->from, f->n));
        CRT_RETURN(f->r == -EPIPE ? 0 : f->r);   // a child that does not read to the end has its reasons
    }
    do {
        if (!crt__grow(&f->data, f->n, &f->room, 4096)) CRT_RETURN(CRT_ENOMEM);
        CRT_AWAIT(f->r = crt_read(cx, f->stream, (char *)f->data + f->n,
                                  crt__min(crt__min(f->room - f->n - 1, f->most - f->n + 1), (size_t)1 << 30)));
        if (f->r > 0) f->n += (size_t)f->r;
        if (f->n > f->most) {
            f->n = f->most;
            f->r = -EFBIG;
        }
    } while (f->r > 0);
    CRT_RETURN(f->r);
    CRT_FINALLY
        if (f->data) ((char *)f->data)[f->n] = 0;
        crt_stream_close(&f->stream);
    CRT_END;
}
// What it has under way hangs in a slot that is listed in the task, as a copy's buffers do: nothing is
// lost of a task that is ended by force, in whatever it waits.
static CRT__COLD void crt__op_output_cancel(crt_slot *slot)
{
    crt_output *o = slot->object;
    crt_stream_close(&o->crt__in.stream);
    crt_stream_close(&o->crt__out.stream);
    crt_stream_close(&o->crt__err.stream);
    crt_process_close(&o->crt__p);
    crt_free(o->crt__out.data);
    crt_free(o->crt__err.data);
    o->crt__out.data = o->crt__err.data = NULL;
}
static const crt__op crt__op_output = {"process output", crt__op_output_cancel};

static CRT__COLD void crt__output_begin(crt_cx *cx, crt_output *o)
{
    size_t usual = (size_t)8 << 20;
    crt__collect none;
    memset(&none, 0, sizeof none);
    o->crt__in = o->crt__out = o->crt__err = none;
    o->crt__in.stream = crt_process_take_stdin(o->crt__p);
    o->crt__in.from = o->input;
    o->crt__in.n = o->input_n;
    o->crt__out.stream = crt_process_take_stdout(o->crt__p);
    o->crt__out.most = o->max_out ? crt__min(o->max_out, SIZE_MAX / 4) : usual;
    o->crt__err.stream = crt_process_take_stderr(o->crt__p);
    o->crt__err.most = o->max_err ? crt__min(o->max_err, SIZE_MAX / 4) : usual;
    // Without input there is nothing to say on a pipe that was asked for.
    if (!o->input) crt_stream_close(&o->crt__in.stream);
    crt__slot_park(cx, &o->crt__holds, &crt__op_output, o);
    crt__group_link(cx, &o->crt__held, &o->crt__holds, 1, sizeof o->crt__holds);
}
static CRT__OUTLINE crt_poll crt__output_run(crt_output *o, crt_cx *cx)
{
    CRT_BEGIN(o, cx);
    CRT_AWAIT(o->crt__r = crt_process_spawn(cx, &o->crt__desc, &o->crt__p));
    if (o->crt__r < 0) CRT_RETURN(o->crt__r);
    crt__output_begin(cx, o);
    if (o->crt__in.stream || o->crt__out.stream || o->crt__err.stream) {
        CRT_AWAIT(o->crt__r = crt_try_join(cx, &o->crt__sel,
            crt_on_if(cx, 0, o->crt__in.stream != NULL, o->crt__x[0] = crt__collect_run(&o->crt__in, cx)),
            crt_on_if(cx, 1, o->crt__out.stream != NULL, o->crt__x[1] = crt__collect_run(&o->crt__out, cx)),
            crt_on_if(cx, 2, o->crt__err.stream != NULL, o->crt__x[2] = crt__collect_run(&o->crt__err, cx))));
        if (o->crt__r < 0) CRT_RETURN(o->crt__r);
    }
    CRT_AWAIT(o->crt__r = crt_process_wait(cx, o->crt__p, &o->status));
    CRT_RETURN(o->crt__r);
    CRT_FINALLY
        if (o->crt__p) {   // reaped before anybody goes on
            (void)crt_process_kill(o->crt__p);
            CRT_AWAIT(o->crt__r = crt_process_wait(cx, o->crt__p, &o->status));
        }
        o->out = o->crt__out.data;
        o->out_n = o->crt__out.n;
        o->err = o->crt__err.data;
        o->err_n = o->crt__err.n;
        o->crt__out.data = o->crt__err.data = NULL;
        crt__slot_cancel(&o->crt__holds);
        crt__group_unlink(&o->crt__held);
        o->crt__out.n = o->crt__err.n = 0;
    CRT_END;
}
CRTDEF crt_poll crt_process_output(crt_cx *cx, const crt_process_desc *desc, crt_output *o)
{
    if (!desc || !o) return crt__refuse(cx, CRT_EINVAL);
    o->crt__desc = *desc;   // that of this poll: what it points to may have moved
    o->crt__desc.kill_on_drop = true;
    if (o->input) o->crt__desc.in.kind = CRT_STDIO_PIPE;
    else if (desc->in.kind == CRT_STDIO_INHERIT) o->crt__desc.in.kind = CRT_STDIO_NULL;
    if (desc->out.kind == CRT_STDIO_INHERIT) o->crt__desc.out.kind = CRT_STDIO_PIPE;
    if (desc->err.kind == CRT_STDIO_INHERIT) o->crt__desc.err.kind = CRT_STDIO_PIPE;
    return crt__output_run(o, cx);
}
CRTDEF void crt_output_free(crt_output *o)
{
    if (!o) return;
    crt_free(o->out);
    crt_free(o->err);
    o->out = o->err = NULL;
    o->out_n = o->err_n = 0;
}
#endif   // CRT_NO_PROCESS

// ---------------------------------------------------------------------------
// >>sync          notify, semaphore, mutex, rwlock, barrier, once cell, cancel token
// ---------------------------------------------------------------------------
// What waits is a slot in a list under a small lock. Who grants something to a
// slot unlinks it, stores the new state and marks the task woken, all under the
// lock, and queues the task after it. A task that finds its slot granted makes sure
// that the lock has been free since (crt__lock_pass): then the granter is done with
// it. A cancelled wait that was granted already passes the grant on.
// Uncontended, each of notify, semaphore, mutex and rwlock is one operation on one
// word. A bit in the word says that somebody waits; it is set and cleared under the
// lock only, and while it is set the word is changed under the lock only.
//   Orders: taking is an acquire, giving a release, by read-modify-writes on one
//   word, so that what one holder wrote the next one sees, however many gave between.

enum {
    CRT__SLOT_QUEUED = 1,
    CRT__SLOT_GRANTED = 2,
    CRT__SLOT_GRANTED_ALL = 3,    // together with all others: nothing to pass on
    CRT__SLOT_CLOSED = 4,
    CRT__SLOT_GRANTED_LAST = 5    // by notify_last: passed on to the newest
};

static void crt__waitq_push(crt__waitq *q, crt_slot *s)
{
    s->next = NULL;
    s->prev = q->tail;
    if (q->tail) q->tail->next = s;
    else q->head = s;
    q->tail = s;
    s->state = CRT__SLOT_QUEUED;
}
static void crt__waitq_unlink(crt__waitq *q, crt_slot *s)
{
    if (s->prev) s->prev->next = s->next;
    else q->head = s->next;
    if (s->next) s->next->prev = s->prev;
    else q->tail = s->prev;
}
static void crt__waitq_grant(crt__waitq *q, crt_slot *s, uint32_t state, crt__list *ready)
{
    crt_task *task = s->task;
    crt__waitq_unlink(q, s);
    crt__atomic_store(&s->state, state, CRT__RELEASE);
    crt__wake_into(ready, task);
}
static void crt__waitq_grant_all(crt__waitq *q, uint32_t state, crt__list *ready)
{
    while (q->head) crt__waitq_grant(q, q->head, state, ready);
}
// Wakes all who wait for something that has happened for good.
static void crt__waitq_release_all(crt__waitq *q)
{
    crt__list ready = {NULL, NULL};
    crt__lock(&q->lock);
    crt__waitq_grant_all(q, CRT__SLOT_GRANTED_ALL, &ready);
    crt__unlock(&q->lock);
    crt__submit_list(&ready);
}
// The state of a parked slot, once whoever changes it is done with it.
static uint32_t crt__waitq_state(crt__waitq *q, crt_slot *s)
{
    uint32_t state = crt__atomic_load(&s->state, CRT__ACQUIRE);
    if (state != CRT__SLOT_QUEUED) crt__lock_pass(&q->lock);
    return state;
}

static crt_poll crt__waitq_resume(crt_cx *cx, const crt__op *op, void *object, crt__waitq *q)
{
    crt_slot *slot = cx->slot;
    if (!crt__leaf(cx, op, object)) return CRT_UNWIND;
    uint32_t state = slot->op ? crt__waitq_state(q, slot) : 0;
    if (state == CRT__SLOT_QUEUED || !crt__coop(cx)) return CRT_PENDING;
    slot->op = NULL;
    return (crt_poll)state;
}
// The first half of every wait on a queue: CRT_UNWIND, CRT_PENDING, 0 to begin the
// wait, or the state that a grant has left in the slot, which is idle again.
static inline crt_poll crt__waitq_enter(crt_cx *cx, const crt__op *op, void *object, crt__waitq *q)
{
    if (CRT__LIKELY(!cx->slot->op && !cx->unwind)) return crt__coop(cx) ? 0 : CRT_PENDING;
    return crt__waitq_resume(cx, op, object, q);
}
// The second half, under the lock: into the queue.
static void crt__waitq_park(crt_cx *cx, const crt__op *op, void *object, crt__waitq *q)
{
    crt__coop_return(cx);
    crt__slot_park(cx, cx->slot, op, object);
    crt__waitq_push(q, cx->slot);
}
// The whole of a cancelled wait that has nothing to pass on. `object` is the queue.
static void crt__op_waitq_cancel(crt_slot *slot)
{
    crt__waitq *q = slot->object;
    crt__lock(&q->lock);
    if (slot->state == CRT__SLOT_QUEUED) crt__waitq_unlink(q, slot);
    crt__unlock(&q->lock);
}

// Waits until a flag is raised; whoever raises it calls crt__waitq_release_all next.
static crt_poll crt__wait_flag(crt_cx *cx, const crt__op *op, crt__waitq *q, const uint32_t *flag)
{
    crt_poll r = crt__waitq_enter(cx, op, q, q);
    if (r < 0) return r;
    crt__lock(&q->lock);
    bool raised = crt__atomic_load(flag, CRT__ACQUIRE) != 0;
    if (!raised) crt__waitq_park(cx, op, q, q);
    crt__unlock(&q->lock);
    return raised ? 0 : CRT_PENDING;
}

// --- waiting from a plain thread
// A stand-in for a task on the thread's stack: ACTIVE while the thread polls, so
// wakers only mark it, idle while it sleeps, so that exactly one of them submits
// it, which here means waking the thread. It goes out of scope ACTIVE, and once
// nobody holds a reference: then nobody touches it any more.

typedef struct crt__thread_task {
    crt_task task;
    uint32_t word;   // atomic futex word
} crt__thread_task;

static void crt__thread_task_wake(crt_task *t)
{
    uint32_t *word = &crt__container(t, crt__thread_task, task)->word;
    crt__atomic_store(word, 1, CRT__RELEASE);
    crt__futex_wake(word, 1);
}
// Without threads only a handler can end such a sleep, and none can sleep itself.
#ifdef CRT__BARE
#define crt__may_sleep() (!crt__in_interrupt())
#else
#define crt__may_sleep() CRT__THREADS
#endif
// What a blocking call polls: up to three operands.
typedef struct crt__call_of {
    void *object, *a, *b;
    size_t n;
} crt__call_of;
static int crt__block_thread(crt_poll (*poll_fn)(crt_cx *cx, crt__call_of *call), void *object, void *a, void *b,
                             size_t n)
{
    crt__call_of call = {object, a, b, n};
    crt__thread_task me;
    crt_cx cx;
    crt_poll r;
    if (crt__tls.in_task) return CRT_ENESTED;
    memset(&me, 0, sizeof me);
    memset(&cx, 0, sizeof cx);
    me.task.state = CRT__REF | CRT__ACTIVE;
    me.task.flags = CRT__TASK_THREAD;
    cx.task = &me.task;
    cx.slot = &me.task.u.slot;
    cx.unconstrained = 1;
    while ((r = poll_fn(&cx, &call)) == CRT_PENDING) {
        if (!crt__may_sleep()) {   // who could end the wait does not run meanwhile: take it back
            cx.unwind = 1;
            (void)poll_fn(&cx, &call);
            r = CRT_ENOCONTEXT;
            break;
        }
        uint32_t s = crt__atomic_sub(&me.task.state, CRT__ACTIVE, CRT__ACQ_REL);
        if (!(s & CRT__NOTIFIED))
            while (!crt__atomic_load(&me.word, CRT__ACQUIRE)) crt__futex_wait(&me.word, 0, -1);
        crt__atomic_store(&me.word, 0, CRT__RELAXED);
        (void)crt__task_begin(&me.task);
    }
    while (crt__atomic_load(&me.task.state, CRT__ACQUIRE) / CRT__REF != 1) crt__cpu_relax();   // a waker on its way out
    return (int)r;
}

// --- notify: q.extra = rounds of notify_waiters << 2 | WAITING | PERMIT
// Invariant: while the queue is not empty WAITING is set, and then there is no permit. It
// stays set when the queue has become empty, until a notifier finds that out: two tasks
// that notify each other in turn need not set and clear it each time. Storing a permit
// that is there already is a read-modify-write all the same: what was written before
// must reach whoever takes it.

enum { CRT__NOTIFY_PERMIT = 1, CRT__NOTIFY_WAITING = 2, CRT__NOTIFY_ROUND = 4 };

// Gives one notification away, under the lock.
static void crt__notify_give(crt_notify *n, uint32_t state, crt__list *ready)
{
    crt_slot *to = state == CRT__SLOT_GRANTED_LAST ? n->q.tail : n->q.head;
    if (to) {
        crt__waitq_grant(&n->q, to, state, ready);
        return;
    }
    uint32_t word = crt__atomic_load(&n->q.extra, CRT__RELAXED), next;
    do {
        next = (word | CRT__NOTIFY_PERMIT) & ~(uint32_t)CRT__NOTIFY_WAITING;
    } while (!crt__atomic_cas_weak(&n->q.extra, &word, next, CRT__ACQ_REL, CRT__RELAXED));
}
static void crt__notify_single(crt_notify *n, uint32_t state)
{
    crt__list ready = {NULL, NULL};
    uint32_t word = crt__atomic_load(&n->q.extra, CRT__RELAXED);
    while (!(word & CRT__NOTIFY_WAITING))
        if (crt__atomic_cas_weak(&n->q.extra, &word, word | CRT__NOTIFY_PERMIT, CRT__ACQ_REL, CRT__RELAXED)) return;
    crt__lock(&n->q.lock);
    crt__notify_give(n, state, &ready);
    crt__unlock(&n->q.lock);
    crt__submit_list(&ready);
}
CRTDEF void crt_notify_one(crt_notify *n) { crt__notify_single(n, CRT__SLOT_GRANTED); }
CRTDEF void crt_notify_last(crt_notify *n) { crt__notify_single(n, CRT__SLOT_GRANTED_LAST); }
CRTDEF void crt_notify_waiters(crt_notify *n)
{
    crt__list ready = {NULL, NULL};
    crt__lock(&n->q.lock);
    crt__waitq_grant_all(&n->q, CRT__SLOT_GRANTED_ALL, &ready);
    crt__atomic_add(&n->q.extra, CRT__NOTIFY_ROUND, CRT__ACQ_REL);
    crt__unlock(&n->q.lock);
    crt__submit_list(&ready);
}
CRTDEF uint32_t crt_notify_snapshot(crt_notify *n)
{
    return crt__atomic_load(&n->q.extra, CRT__ACQUIRE) / CRT__NOTIFY_ROUND;
}
static void crt__op_notify_cancel(crt_slot *slot)
{
    crt_notify *n = slot->object;
    crt__list ready = {NULL, NULL};
    crt__lock(&n->q.lock);
    if (slot->state == CRT__SLOT_QUEUED) {
        crt__waitq_unlink(&n->q, slot);
    } else if (slot->state != CRT__SLOT_GRANTED_ALL) {
        crt__notify_give(n, slot->state, &ready);
    }
    crt__unlock(&n->q.lock);
    crt__submit_list(&ready);
}
static const crt__op crt__op_notify = {"notify", crt__op_notify_cancel};

// Takes the permit, or says in the word that somebody waits. True: taken, or (since)
// a round has passed.
static bool crt__notify_take(crt_notify *n, const uint32_t *since, bool may_wait)
{
    uint32_t word = crt__atomic_load(&n->q.extra, CRT__ACQUIRE), next;
    for (;;) {
        if (since && word / CRT__NOTIFY_ROUND != *since) return true;
        if (!(word & CRT__NOTIFY_PERMIT) && (!may_wait || (word & CRT__NOTIFY_WAITING))) return false;
        next = word & CRT__NOTIFY_PERMIT ? word & ~(uint32_t)CRT__NOTIFY_PERMIT : word | CRT__NOTIFY_WAITING;
        if (crt__atomic_cas_weak(&n->q.extra, &word, next, CRT__ACQ_REL, CRT__ACQUIRE))
            return (word & CRT__NOTIFY_PERMIT) != 0;
    }
}
static crt_poll crt__notified(crt_cx *cx, crt_notify *n, const uint32_t *since)
{
    crt_poll r = crt__waitq_enter(cx, &crt__op_notify, n, &n->q);
    if (r) return crt__min(r, 0);
    if (crt__notify_take(n, since, false)) {
        crt__lock_pass(&n->q.lock);   // the notifier may have stored it under the lock
        return 0;
    }
    crt__lock(&n->q.lock);
    bool now = crt__notify_take(n, since, true);
    if (!now) crt__waitq_park(cx, &crt__op_notify, n, &n->q);
    crt__unlock(&n->q.lock);
    return now ? 0 : CRT_PENDING;
}
CRTDEF crt_poll crt_notified(crt_cx *cx, crt_notify *n) { return crt__notified(cx, n, NULL); }
CRTDEF crt_poll crt_notified_since(crt_cx *cx, crt_notify *n, uint32_t snapshot)
{
    return crt__notified(cx, n, &snapshot);
}
static crt_poll crt__poll_notified(crt_cx *cx, crt__call_of *call) { return crt_notified(cx, call->object); }
CRTDEF int crt_notified_blocking(crt_notify *n) { return crt__block_thread(crt__poll_notified, n, NULL, NULL, 0); }

// --- permits: word = free permits << 2 | CLOSED | WAITING
// slot.value = permits still missing, slot.extra = permits asked for. Invariant: while
// somebody waits none is free; what comes back belongs to the head of the queue, who
// collects until it has all. A rwlock counts from `base` free permits downwards, so
// that a word of zero is a free lock: free permits are word / 4 + base.

enum { CRT__PERMITS_WAITING = 1, CRT__PERMITS_CLOSED = 2, CRT__PERMIT = 4 };

static size_t crt__permits_free(size_t word, size_t base)
{
    return (word / CRT__PERMIT + base) & (SIZE_MAX / CRT__PERMIT);
}
// Takes n at once. 0, CRT_EAGAIN, CRT_ECLOSED.
static int crt__permits_try(crt__permits *p, size_t n, size_t base)
{
    size_t word = crt__atomic_load(&p->word, CRT__RELAXED);
    for (;;) {
        if (word & CRT__PERMITS_CLOSED) return CRT_ECLOSED;
        if (crt__permits_free(word, base) < n) return CRT_EAGAIN;
        if (!crt__atomic_cas_weak(&p->word, &word, word - n * CRT__PERMIT, CRT__ACQUIRE, CRT__RELAXED)) continue;
        crt__lock_pass(&p->q.lock);   // who gave them may have done so under the lock
        return 0;
    }
}
// Hands n permits to those who wait, the rest to the word; under the lock.
static void crt__permits_give(crt__permits *p, size_t n, crt__list *ready)
{
    bool waiting = (crt__atomic_load(&p->word, CRT__RELAXED) & CRT__PERMITS_WAITING) != 0;
    for (crt_slot *head; n && (head = p->q.head);) {
        size_t take = crt__min(n, (size_t)head->value);
        n -= take;
        head->value -= take;
        if (!head->value) crt__waitq_grant(&p->q, head, CRT__SLOT_GRANTED, ready);
    }
    size_t gone = waiting && !p->q.head ? CRT__PERMITS_WAITING : 0;
    if (n || gone) crt__atomic_add(&p->word, n * CRT__PERMIT - gone, CRT__ACQ_REL);
}
static void crt__permits_release(crt__permits *p, size_t n)
{
    crt__list ready = {NULL, NULL};
    size_t word = crt__atomic_load(&p->word, CRT__RELAXED);
    while (!(word & CRT__PERMITS_WAITING))
        if (crt__atomic_cas_weak(&p->word, &word, word + n * CRT__PERMIT, CRT__RELEASE, CRT__RELAXED)) return;
    crt__lock(&p->q.lock);
    crt__permits_give(p, n, &ready);
    crt__unlock(&p->q.lock);
    crt__submit_list(&ready);
}
static void crt__op_permits_cancel(crt_slot *slot)
{
    crt__permits *p = slot->object;
    crt__list ready = {NULL, NULL};
    crt__lock(&p->q.lock);
    if (slot->state == CRT__SLOT_QUEUED) crt__waitq_unlink(&p->q, slot);
    if (slot->state != CRT__SLOT_CLOSED) crt__permits_give(p, slot->extra - (size_t)slot->value, &ready);
    crt__unlock(&p->q.lock);
    crt__submit_list(&ready);
}
static const crt__op crt__op_semaphore = {"semaphore", crt__op_permits_cancel};
static const crt__op crt__op_rwlock_read = {"rwlock read", crt__op_permits_cancel};
static const crt__op crt__op_rwlock_write = {"rwlock write", crt__op_permits_cancel};

static crt_poll crt__permits_acquire(crt_cx *cx, const crt__op *op, crt__permits *p, size_t n, size_t base)
{
    crt_slot *slot = cx->slot;
    crt_poll r = crt__waitq_enter(cx, op, p, &p->q);
    if (r) return r == CRT__SLOT_CLOSED ? CRT_ECLOSED : crt__min(r, 0);
    if (n > crt__min((size_t)UINT32_MAX, CRT_MAX_PERMITS)) return CRT_EINVAL;
    r = crt__permits_try(p, n, base);
    if (CRT__LIKELY(r != CRT_EAGAIN)) return r;
    crt__lock(&p->q.lock);
    size_t word = crt__atomic_load(&p->word, CRT__ACQUIRE), take = 0;
    do {
        if (word & CRT__PERMITS_CLOSED) break;
        // Whatever is free is ours, if we are first.
        take = p->q.head ? 0 : crt__min(crt__permits_free(word, base), n);
    } while (!crt__atomic_cas_weak(&p->word, &word,
                                   (word - take * CRT__PERMIT) | (take < n ? CRT__PERMITS_WAITING : 0),
                                   CRT__ACQ_REL, CRT__ACQUIRE));
    r = word & CRT__PERMITS_CLOSED ? CRT_ECLOSED : take == n ? 0 : CRT_PENDING;
    if (r == CRT_PENDING) {
        slot->extra = (uint32_t)n;
        slot->value = n - take;
        crt__waitq_park(cx, op, p, &p->q);
    }
    crt__unlock(&p->q.lock);
    return r;
}
static crt_poll crt__poll_permits(crt_cx *cx, crt__call_of *call)
{
    return crt__permits_acquire(cx, call->a, call->object, call->n, *(size_t *)call->b);
}
static int crt__permits_blocking(const crt__op *op, crt__permits *p, size_t n, size_t base)
{
    return crt__block_thread(crt__poll_permits, p, (void *)(uintptr_t)op, &base, n);
}

CRTDEF void crt_semaphore_init(crt_semaphore *s, size_t permits)
{
    CRT_ASSERT(permits <= CRT_MAX_PERMITS && "crt_semaphore_init: at most CRT_MAX_PERMITS");
    memset(s, 0, sizeof *s);
    s->p.word = permits * CRT__PERMIT;
}
CRTDEF crt_poll crt_semaphore_acquire(crt_cx *cx, crt_semaphore *s, size_t n)
{
    return crt__permits_acquire(cx, &crt__op_semaphore, &s->p, n, 0);
}
CRTDEF int crt_semaphore_try_acquire(crt_semaphore *s, size_t n) { return crt__permits_try(&s->p, n, 0); }
CRTDEF int crt_semaphore_blocking_acquire(crt_semaphore *s, size_t n)
{
    return s ? crt__permits_blocking(&crt__op_semaphore, &s->p, n, 0) : CRT_EINVAL;
}
CRTDEF void crt_semaphore_release(crt_semaphore *s, size_t n)
{
    CRT_ASSERT(n <= CRT_MAX_PERMITS && crt_semaphore_available(s) <= CRT_MAX_PERMITS - n &&
               "crt_semaphore_release: at most CRT_MAX_PERMITS in all; give back no more than was acquired");
    crt__permits_release(&s->p, n);
}
CRTDEF size_t crt_semaphore_forget(crt_semaphore *s, size_t n)
{
    size_t word = crt__atomic_load(&s->p.word, CRT__RELAXED), take;
    do {   // none is free while somebody waits
        take = crt__min(n, crt__permits_free(word, 0));
        if (!take) return 0;
    } while (!crt__atomic_cas_weak(&s->p.word, &word, word - take * CRT__PERMIT, CRT__ACQUIRE, CRT__RELAXED));
    return take;
}
// Who had collected some gives them back; they stay in the word.
CRTDEF void crt_semaphore_close(crt_semaphore *s)
{
    crt__list ready = {NULL, NULL};
    size_t collected = 0;
    crt__lock(&s->p.q.lock);
    size_t gone = s->p.q.head ? CRT__PERMITS_WAITING : 0;
    for (crt_slot *head; (head = s->p.q.head);) {
        collected += head->extra - (size_t)head->value;
        crt__waitq_grant(&s->p.q, head, CRT__SLOT_CLOSED, &ready);
    }
    crt__atomic_or(&s->p.word, (size_t)CRT__PERMITS_CLOSED, CRT__ACQ_REL);
    if (collected || gone) crt__atomic_add(&s->p.word, collected * CRT__PERMIT - gone, CRT__ACQ_REL);
    crt__unlock(&s->p.q.lock);
    crt__submit_list(&ready);
}
CRTDEF bool crt_semaphore_is_closed(const crt_semaphore *s)
{
    return (crt__atomic_load(&s->p.word, CRT__ACQUIRE) & CRT__PERMITS_CLOSED) != 0;
}
CRTDEF size_t crt_semaphore_available(const crt_semaphore *s)
{
    return crt__permits_free(crt__atomic_load(&s->p.word, CRT__ACQUIRE), 0);
}

// --- rwlock: a reader takes one of many permits, a writer all of them

enum { CRT__READERS = 1 << 28 };

CRTDEF crt_poll crt_rwlock_read(crt_cx *cx, crt_rwlock *l)
{
    return crt__permits_acquire(cx, &crt__op_rwlock_read, &l->p, 1, CRT__READERS);
}
CRTDEF crt_poll crt_rwlock_write(crt_cx *cx, crt_rwlock *l)
{
    return crt__permits_acquire(cx, &crt__op_rwlock_write, &l->p, CRT__READERS, CRT__READERS);
}
CRTDEF int crt_rwlock_try_read(crt_rwlock *l) { return crt__permits_try(&l->p, 1, CRT__READERS) ? CRT_EBUSY : 0; }
CRTDEF int crt_rwlock_try_write(crt_rwlock *l)
{
    return crt__permits_try(&l->p, CRT__READERS, CRT__READERS) ? CRT_EBUSY : 0;
}
CRTDEF int crt_rwlock_blocking_read(crt_rwlock *l)
{
    return l ? crt__permits_blocking(&crt__op_rwlock_read, &l->p, 1, CRT__READERS) : CRT_EINVAL;
}
CRTDEF int crt_rwlock_blocking_write(crt_rwlock *l)
{
    return l ? crt__permits_blocking(&crt__op_rwlock_write, &l->p, CRT__READERS, CRT__READERS) : CRT_EINVAL;
}
static void crt__rwlock_unlock(crt_rwlock *l, size_t n)
{
    CRT_ASSERT(crt__permits_free(crt__atomic_load(&l->p.word, CRT__RELAXED), CRT__READERS) + n <= CRT__READERS &&
               "crt_rwlock_unlock_read, _unlock_write, _downgrade: unlock what is locked, once, and in the same way");
    crt__permits_release(&l->p, n);
}
CRTDEF void crt_rwlock_unlock_read(crt_rwlock *l) { crt__rwlock_unlock(l, 1); }
CRTDEF void crt_rwlock_unlock_write(crt_rwlock *l) { crt__rwlock_unlock(l, CRT__READERS); }
CRTDEF void crt_rwlock_downgrade(crt_rwlock *l) { crt__rwlock_unlock(l, CRT__READERS - 1); }

// --- mutex: q.extra = 0 free, 1 locked, 2 locked and somebody may wait
// Free to locked and back is one CAS. 2 is entered and left under q.lock only. The
// unlocker hands the lock to the head of the queue without freeing it between.

CRTDEF int crt_mutex_try_lock(crt_mutex *m)
{
    uint32_t none = 0;
    if (!crt__atomic_cas(&m->q.extra, &none, 1, CRT__ACQUIRE, CRT__RELAXED)) return CRT_EBUSY;
    crt__lock_pass(&m->q.lock);   // who freed it may have done so under the lock
    return 0;
}
CRTDEF void crt_mutex_unlock(crt_mutex *m)
{
    uint32_t one = 1;
    crt__list ready = {NULL, NULL};
    if (CRT__LIKELY(crt__atomic_cas(&m->q.extra, &one, 0, CRT__RELEASE, CRT__RELAXED))) return;
    CRT_ASSERT(one == 2 && "crt_mutex_unlock: it is not locked; unlock it once for each lock");
    crt__lock(&m->q.lock);
    if (m->q.head) {
        crt__waitq_grant(&m->q, m->q.head, CRT__SLOT_GRANTED, &ready);
        if (!m->q.head) crt__atomic_store(&m->q.extra, 1, CRT__RELEASE);
    } else {
        crt__atomic_store(&m->q.extra, 0, CRT__RELEASE);
    }
    crt__unlock(&m->q.lock);
    crt__submit_list(&ready);
}
static void crt__op_mutex_cancel(crt_slot *slot)
{
    crt_mutex *m = slot->object;
    crt__lock(&m->q.lock);
    bool granted = slot->state != CRT__SLOT_QUEUED;
    if (!granted) crt__waitq_unlink(&m->q, slot);
    crt__unlock(&m->q.lock);
    if (granted) crt_mutex_unlock(m);
}
static const crt__op crt__op_mutex = {"mutex", crt__op_mutex_cancel};
CRTDEF crt_poll crt_mutex_lock(crt_cx *cx, crt_mutex *m)
{
    crt_poll r = crt__waitq_enter(cx, &crt__op_mutex, m, &m->q);
    if (r) return crt__min(r, 0);
    if (CRT__LIKELY(crt_mutex_try_lock(m) == 0)) return 0;
    crt__lock(&m->q.lock);
    uint32_t state = crt__atomic_load(&m->q.extra, CRT__RELAXED);
    for (;;) {
        if (state == 2) break;
        if (crt__atomic_cas(&m->q.extra, &state, state + 1, CRT__ACQUIRE, CRT__RELAXED)) break;
    }
    if (state != 0) crt__waitq_park(cx, &crt__op_mutex, m, &m->q);
    crt__unlock(&m->q.lock);
    return state == 0 ? 0 : CRT_PENDING;
}
static crt_poll crt__poll_mutex(crt_cx *cx, crt__call_of *call) { return crt_mutex_lock(cx, call->object); }
CRTDEF int crt_mutex_blocking_lock(crt_mutex *m) { return crt__block_thread(crt__poll_mutex, m, NULL, NULL, 0); }

// --- barrier

CRTDEF void crt_barrier_init(crt_barrier *b, size_t n)
{
    CRT_ASSERT(n <= UINT32_MAX && "crt_barrier_init: at most 2^32 - 1 tasks");
    memset(b, 0, sizeof *b);
    b->n = n ? (uint32_t)n : 1;
}
static void crt__op_barrier_cancel(crt_slot *slot)
{
    crt_barrier *b = slot->object;
    crt__lock(&b->q.lock);
    if (slot->state == CRT__SLOT_QUEUED) {
        crt__waitq_unlink(&b->q, slot);
        b->arrived--;
    }
    crt__unlock(&b->q.lock);
}
static const crt__op crt__op_barrier = {"barrier", crt__op_barrier_cancel};
CRTDEF crt_poll crt_barrier_wait(crt_cx *cx, crt_barrier *b)
{
    crt__list ready = {NULL, NULL};
    crt_poll r = crt__waitq_enter(cx, &crt__op_barrier, b, &b->q);
    if (r) return crt__min(r, 0);
    crt__lock(&b->q.lock);
    bool leader = b->arrived + 1 >= b->n;
    if (leader) {
        b->arrived = 0;
        crt__waitq_grant_all(&b->q, CRT__SLOT_GRANTED_ALL, &ready);
    } else {
        b->arrived++;
        crt__waitq_park(cx, &crt__op_barrier, b, &b->q);
    }
    crt__unlock(&b->q.lock);
    crt__submit_list(&ready);
    return leader ? 1 : CRT_PENDING;
}

// --- once cell: q.extra = EMPTY, MAKING or SET, changed under the lock
// Who makes the value is known by the slot of its await. It is listed in its task as
// a group of one slot, so that a task that is ended by force hands over as well.
// slot.extra of a waiting slot: 1 if it only waits and never makes; of crt__making: 1 while the
// expression is evaluated.

enum { CRT__ONCE_EMPTY = 0, CRT__ONCE_MAKING = 1, CRT__ONCE_SET = 2 };

// Nobody makes it any more: the longest waiting that is willing does; under the lock.
static void crt__once_hand_over(crt_once_cell *c, crt__list *ready)
{
    crt_slot *s = c->q.head;
    while (s && s->extra) s = s->next;
    if (s) crt__waitq_grant(&c->q, s, CRT__SLOT_GRANTED, ready);
    else crt__atomic_store(&c->q.extra, CRT__ONCE_EMPTY, CRT__RELEASE);
}
static void crt__once_finish(crt_once_cell *c, bool made)
{
    crt__list ready = {NULL, NULL};
    crt__lock(&c->q.lock);
    crt__atomic_store(&c->crt__maker, NULL, CRT__RELAXED);
    if (made) {
        crt__atomic_store(&c->q.extra, CRT__ONCE_SET, CRT__RELEASE);
        crt__waitq_grant_all(&c->q, CRT__SLOT_GRANTED_ALL, &ready);
    } else {
        crt__once_hand_over(c, &ready);
    }
    crt__unlock(&c->q.lock);
    crt__submit_list(&ready);
}
static void crt__op_once_cancel(crt_slot *slot)
{
    crt_once_cell *c = slot->object;
    crt__list ready = {NULL, NULL};
    crt__lock(&c->q.lock);
    if (slot->state == CRT__SLOT_QUEUED) crt__waitq_unlink(&c->q, slot);
    else if (slot->state == CRT__SLOT_GRANTED) crt__once_hand_over(c, &ready);
    crt__unlock(&c->q.lock);
    crt__submit_list(&ready);
}
static void crt__op_once_making_cancel(crt_slot *slot) { crt__once_finish(slot->object, false); }
static const crt__op crt__op_once = {"once cell", crt__op_once_cancel};
static const crt__op crt__op_once_making = {"once cell, making", crt__op_once_making_cancel};

CRTDEF bool crt_once_cell_is_set(const crt_once_cell *c)
{
    return crt__atomic_load(&c->q.extra, CRT__ACQUIRE) == CRT__ONCE_SET;
}
// Waits for the value, or for the turn to make it: 0, CRT__SLOT_GRANTED, or a sentinel.
static crt_poll crt__once_wait(crt_cx *cx, crt_once_cell *c, bool willing)
{
    crt_poll r = crt__waitq_enter(cx, &crt__op_once, c, &c->q);
    if (r < 0 || r == CRT__SLOT_GRANTED) return r;
    if (crt_once_cell_is_set(c)) return 0;
    crt__lock(&c->q.lock);
    uint32_t state = crt__atomic_load(&c->q.extra, CRT__RELAXED);
    if (state == CRT__ONCE_EMPTY && willing) {
        crt__atomic_store(&c->q.extra, CRT__ONCE_MAKING, CRT__RELAXED);
        r = CRT__SLOT_GRANTED;
    } else if (state != CRT__ONCE_SET) {
        cx->slot->extra = !willing;
        crt__waitq_park(cx, &crt__op_once, c, &c->q);
        r = CRT_PENDING;
    }
    crt__unlock(&c->q.lock);
    return r;
}
CRTDEF crt_poll crt_once_cell_wait(crt_cx *cx, crt_once_cell *c) { return crt__once_wait(cx, c, false); }
static CRT__COLD bool crt__once_refuse(crt_cx *cx)
{
    crt__say(cx->rt, CRT_LOG_ERROR, "crt_once_cell_init: the expression initialises the same cell: give it another");
    cx->scratch = crt__refuse(cx, CRT_EINVAL);
    return false;
}
CRTDEF bool crt__once_enter(crt_cx *cx, crt_once_cell *c)
{
    if (crt__atomic_load(&c->crt__maker, CRT__RELAXED) == cx->slot) {
        if (CRT__UNLIKELY(c->crt__making.extra)) return crt__once_refuse(cx);
        c->crt__making.extra = 1;
        return true;
    }
    bool at_once = !cx->slot->op && !cx->unwind && crt_once_cell_is_set(c);
    crt_poll r = !at_once ? crt__once_wait(cx, c, true) : crt__coop(cx) ? 0 : CRT_PENDING;
    cx->scratch = r;
    if (r != CRT__SLOT_GRANTED) return false;
    crt__atomic_store(&c->crt__maker, cx->slot, CRT__RELAXED);
    crt__slot_park(cx, &c->crt__making, &crt__op_once_making, c);
    crt__group_link(cx, &c->crt__listed, &c->crt__making, 1, 0);
    c->crt__making.extra = 1;
    return true;
}
CRTDEF crt_poll crt__once_leave(crt_cx *cx, crt_once_cell *c, crt_poll r)
{
    c->crt__making.extra = 0;
    if (r == CRT_PENDING) {
        if (CRT__LIKELY(!cx->unwind)) return r;
        cx->unwind = 0;   // the expression took no notice of the cancellation
        crt__slot_cancel(cx->slot);
        r = CRT_UNWIND;
    }
    crt__group_unlink(&c->crt__listed);
    c->crt__making.op = NULL;
    crt__once_finish(c, r >= 0);
    return crt__min(r, 0);
}

// --- cancel token: a tree under the lock of its root
// A token keeps its parent alive, so the root outlives them all. A waiting slot
// keeps a reference to its token.

struct crt_cancel_token {
    uint32_t refs, cancelled;   // atomic
    uint32_t lock;              // the root's is used
    crt_cancel_token *root, *parent, *child, *next, *prev;
    crt__waitq q;               // its own lock is not used
};

static crt_cancel_token *crt__token_new(crt_cancel_token *parent)
{
    crt_cancel_token *t = CRT_MALLOC(sizeof *t);
    if (!t) return NULL;
    memset(t, 0, sizeof *t);
    t->refs = 1;
    t->root = parent ? parent->root : t;
    t->parent = parent;
    return t;
}
CRTDEF crt_cancel_token *crt_cancel_token_new(void) { return crt__token_new(NULL); }
CRTDEF crt_cancel_token *crt_cancel_token_clone(crt_cancel_token *t)
{
    if (t) crt__atomic_add(&t->refs, 1, CRT__RELAXED);
    return t;
}
CRTDEF crt_cancel_token *crt_cancel_token_child(crt_cancel_token *parent)
{
    crt_cancel_token *t = parent ? crt__token_new(parent) : NULL;
    if (!t) return NULL;
    crt_cancel_token_clone(parent);
    crt__lock(&t->root->lock);
    t->cancelled = parent->cancelled;
    t->next = parent->child;
    if (t->next) t->next->prev = t;
    parent->child = t;
    crt__unlock(&t->root->lock);
    return t;
}
static void crt__token_unref(crt_cancel_token *t)
{
    while (t && crt__atomic_sub(&t->refs, 1, CRT__ACQ_REL) == 1) {
        crt_cancel_token *parent = t->parent;
        if (parent) {
            crt__lock(&t->root->lock);
            if (t->prev) t->prev->next = t->next;
            else parent->child = t->next;
            if (t->next) t->next->prev = t->prev;
            crt__unlock(&t->root->lock);
        }
        CRT_FREE(t);
        t = parent;
    }
}
CRTDEF void crt_cancel_token_drop(crt_cancel_token **t)
{
    crt_cancel_token *old = t ? *t : NULL;
    if (!old) return;
    *t = NULL;
    crt__token_unref(old);
}
CRTDEF void crt_cancel_token_drop_guard(crt_cancel_token **t)
{
    if (t && *t) crt_cancel_token_cancel(*t);
    crt_cancel_token_drop(t);
}
CRTDEF bool crt_cancel_token_is_cancelled(const crt_cancel_token *t)
{
    return t && crt__atomic_load(&t->cancelled, CRT__ACQUIRE) != 0;
}
// The token after `t` in a walk over the tree below `top`.
static crt_cancel_token *crt__token_next(crt_cancel_token *t, const crt_cancel_token *top)
{
    if (t->child) return t->child;
    while (t != top && !t->next) t = t->parent;
    return t == top ? NULL : t->next;
}
CRTDEF void crt_cancel_token_cancel(crt_cancel_token *top)
{
    crt__list ready = {NULL, NULL};
    if (!top) return;
    crt__lock(&top->root->lock);
    // Of a token that is cancelled already, all below it is too.
    for (crt_cancel_token *t = top->cancelled ? NULL : top; t; t = crt__token_next(t, top)) {
        crt__atomic_store(&t->cancelled, 1, CRT__RELEASE);
        crt__waitq_grant_all(&t->q, CRT__SLOT_GRANTED_ALL, &ready);
    }
    crt__unlock(&top->root->lock);
    crt__submit_list(&ready);
}
static void crt__op_token_cancel(crt_slot *slot)
{
    crt_cancel_token *t = slot->object;
    crt__lock(&t->root->lock);
    if (slot->state == CRT__SLOT_QUEUED) crt__waitq_unlink(&t->q, slot);
    crt__unlock(&t->root->lock);
    crt__token_unref(t);
}
static const crt__op crt__op_token = {"cancel token", crt__op_token_cancel};
CRTDEF crt_poll crt_cancelled(crt_cx *cx, crt_cancel_token *t)
{
    crt_slot *slot = cx->slot;
    if (!crt__leaf(cx, &crt__op_token, t)) return CRT_UNWIND;
    uint32_t state = slot->op ? crt__atomic_load(&slot->state, CRT__ACQUIRE) : 0;
    if (state == CRT__SLOT_QUEUED) return CRT_PENDING;
    if (!t) return crt__refuse(cx, CRT_EINVAL);
    bool held = slot->op != NULL;   // with a reference: granted, or without a budget before
    if (!crt__coop(cx)) {
        if (!held) crt__slot_park(cx, slot, &crt__op_token, crt_cancel_token_clone(t));
        if (!held) slot->state = 0;
        return CRT_PENDING;
    }
    bool now = state || crt_cancel_token_is_cancelled(t);
    if (!now) {
        crt__lock(&t->root->lock);
        now = t->cancelled != 0;
        if (!now && !held) crt_cancel_token_clone(t);
        if (!now) crt__waitq_park(cx, &crt__op_token, t, &t->q);
        crt__unlock(&t->root->lock);
    }
    if (now) crt__slot_cancel(slot);
    return now ? 0 : CRT_PENDING;
}
CRTDEF crt_poll crt__until_end(crt_until *u, crt_poll which)
{
    if (which < 0) return which;
    if (which == 0) return u->crt__token ? u->crt__token : CRT_ECANCELED;   // no token: CRT_EINVAL
    return u->result;
}

// ---------------------------------------------------------------------------
// >>channels      oneshot, mpsc, broadcast, watch
// ---------------------------------------------------------------------------
// A handle of either side is a pointer to the channel (of a receiver that remembers what it
// has seen: to that), which goes with its last reference. Who waits is a slot in a queue
// (>>sync), or a task in a word (>>task).

// Elements of no bytes may come without a buffer: NULL. (That is asked for twice, since
// compilers that see such a NULL do not see that n is 0.)
static CRT__OUTLINE void crt__copy_any(void *to, const void *from, size_t n)
{
    if (to && from && n) memcpy(to, from, n);
}
static inline void crt__copy(void *to, const void *from, size_t n)
{
    if (CRT__LIKELY(n == 8 && to && from)) memcpy(to, from, 8);   // a number or a pointer: two instructions, not a call
    else crt__copy_any(to, from, n);
}
enum { CRT__ELEM_MOST = 1 << 20 };

// --- oneshot: two words in which one task may wait (crt__word_park)
// `word`, for the receiver: 0, the waiting task, or how it ended. It ends once: SENT,
// TX_GONE, or RX_GONE when the receiver closed first. The value is written before
// SENT is stored with release and read after it is seen with acquire. `closing`, for
// the sender: 0, the waiting task, or RX_GONE.
// References: one of each side, one of a wait for closing. A sender that ends it hands
// its reference to the receiver, who then, as a rule, finds itself alone with both and
// need not count. After RX_GONE each side gives its own back.

enum { CRT__ONESHOT_SENT = 1, CRT__ONESHOT_TX_GONE = 2, CRT__ONESHOT_RX_GONE = 4 };
typedef struct crt__oneshot {
    uintptr_t word, closing;   // atomic
    uint32_t refs;             // atomic
    uint32_t size;
    void (*drop)(void *elem, void *user);
    void *drop_user;
    crt__aligned value[];
} crt__oneshot;

CRTDEF int crt_oneshot_new(size_t elem_size, crt_oneshot_tx **tx, crt_oneshot_rx **rx)
{
    if (!tx || !rx) return CRT_EINVAL;
    *tx = NULL;
    *rx = NULL;
    if (elem_size > CRT__ELEM_MOST) return CRT_EINVAL;
    crt__oneshot *o = CRT_MALLOC(sizeof *o + elem_size);
    if (!o) return CRT_ENOMEM;
    memset(o, 0, sizeof *o);
    o->refs = 2;
    o->size = (uint32_t)elem_size;
    *tx = (crt_oneshot_tx *)o;
    *rx = (crt_oneshot_rx *)o;
    return 0;
}
static void crt__oneshot_unref(crt__oneshot *o, uint32_t n)
{
    bool alone = crt__atomic_load(&o->refs, CRT__ACQUIRE) == n;
    if (alone || crt__atomic_sub(&o->refs, n, CRT__ACQ_REL) == n) CRT_FREE(o);
}
// The receiver leaves; how it ended says whose references it has.
static void crt__oneshot_leave(crt__oneshot *o, uintptr_t word)
{
    crt__oneshot_unref(o, word == CRT__ONESHOT_RX_GONE ? 1 : 2);
}
// Ends it, unless it has ended; how it had, or 0.
static uintptr_t crt__oneshot_end(crt__oneshot *o, uintptr_t how)
{
    uintptr_t word = crt__atomic_load(&o->word, CRT__ACQUIRE);
    do {
        if (word && word <= CRT__ONESHOT_RX_GONE) return word;
    } while (!crt__atomic_cas_weak(&o->word, &word, how, CRT__ACQ_REL, CRT__ACQUIRE));
    crt__word_wake(word);
    return 0;
}
CRTDEF int crt_oneshot_send(crt_oneshot_tx **tx, const void *elem)
{
    crt__oneshot *o = tx ? (crt__oneshot *)*tx : NULL;
    if (!o || (CRT__UNLIKELY(!elem) && o->size)) return CRT_EINVAL;
    *tx = NULL;
    crt__copy(o->value, elem, o->size);   // nobody looks before SENT
    if (!crt__oneshot_end(o, CRT__ONESHOT_SENT)) return 0;   // it is the receiver's from here on
    crt__oneshot_unref(o, 1);
    return CRT_ECLOSED;
}
CRTDEF void crt_oneshot_tx_drop(crt_oneshot_tx **tx)
{
    crt__oneshot *o = tx ? (crt__oneshot *)*tx : NULL;
    if (!o) return;
    *tx = NULL;
    if (crt__oneshot_end(o, CRT__ONESHOT_TX_GONE)) crt__oneshot_unref(o, 1);
}
CRTDEF void crt_oneshot_rx_close(crt_oneshot_rx *rx)
{
    crt__oneshot *o = (crt__oneshot *)rx;
    if (!o) return;
    crt__oneshot_end(o, CRT__ONESHOT_RX_GONE);
    crt__word_wake(crt__atomic_xchg(&o->closing, (uintptr_t)CRT__ONESHOT_RX_GONE, CRT__ACQ_REL));
}
CRTDEF void crt_oneshot_rx_drop(crt_oneshot_rx **rx)
{
    crt__oneshot *o = rx ? (crt__oneshot *)*rx : NULL;
    if (!o) return;
    crt_oneshot_rx_close(*rx);
    *rx = NULL;
    uintptr_t word = crt__atomic_load(&o->word, CRT__ACQUIRE);
    if (o->drop && word == CRT__ONESHOT_SENT) o->drop(o->value, o->drop_user);
    crt__oneshot_leave(o, word);
}
CRTDEF void crt_oneshot_on_drop(crt_oneshot_rx *rx, void (*drop)(void *elem, void *user), void *user)
{
    crt__oneshot *o = (crt__oneshot *)rx;
    o->drop = drop;   // the receiver's own: only it releases a value
    o->drop_user = user;
}

static void crt__op_oneshot_cancel(crt_slot *slot)
{
    crt__word_unpark(&((crt__oneshot *)slot->object)->word, slot->task);
}
// The sender may have been used up under this wait (in another arm of a select).
static void crt__op_oneshot_closed_cancel(crt_slot *slot)
{
    crt__oneshot *o = slot->object;
    crt__word_unpark(&o->closing, slot->task);
    crt__oneshot_unref(o, 1);
}
static const crt__op crt__op_oneshot = {"oneshot", crt__op_oneshot_cancel};
static const crt__op crt__op_oneshot_closed = {"oneshot closed", crt__op_oneshot_closed_cancel};

// Received into nothing.
static CRT__COLD void crt__oneshot_discard(crt__oneshot *o, uintptr_t word)
{
    if (word == CRT__ONESHOT_SENT && o->size && o->drop) o->drop(o->value, o->drop_user);
}
// Uses up the receiver of a oneshot that has ended.
static inline int crt__oneshot_take(crt_oneshot_rx **rx, void *elem, uintptr_t word)
{
    crt__oneshot *o = (crt__oneshot *)*rx;
    *rx = NULL;
    if (CRT__UNLIKELY(!elem)) crt__oneshot_discard(o, word);
    else if (word == CRT__ONESHOT_SENT) crt__copy(elem, o->value, o->size);
    crt__oneshot_leave(o, word);
    return word == CRT__ONESHOT_SENT ? 0 : CRT_ECLOSED;
}
CRTDEF crt_poll crt_oneshot_recv(crt_cx *cx, crt_oneshot_rx **rx, void *elem)
{
    crt__oneshot *o = rx ? (crt__oneshot *)*rx : NULL;
    if (!crt__leaf(cx, &crt__op_oneshot, o)) return CRT_UNWIND;
    if (CRT__UNLIKELY(!o)) return crt__refuse(cx, CRT_EINVAL);
    uintptr_t word = crt__word_park(cx, &crt__op_oneshot, o, &o->word);
    if (!word) return CRT_PENDING;
    if (word > CRT__ONESHOT_RX_GONE) return crt__refuse(cx, CRT_EBUSY);   // two tasks share the receiver
    if (!crt__coop(cx)) return CRT_PENDING;
    cx->slot->op = NULL;
    return crt__oneshot_take(rx, elem, word);
}
CRTDEF int crt_oneshot_try_recv(crt_oneshot_rx **rx, void *elem)
{
    crt__oneshot *o = rx ? (crt__oneshot *)*rx : NULL;
    if (!o) return CRT_EINVAL;
    uintptr_t word = crt__atomic_load(&o->word, CRT__ACQUIRE);
    if (!word || word > CRT__ONESHOT_RX_GONE) return CRT_EEMPTY;
    return crt__oneshot_take(rx, elem, word);
}
static crt_poll crt__poll_oneshot(crt_cx *cx, crt__call_of *call)
{
    return crt_oneshot_recv(cx, call->object, call->a);
}
CRTDEF int crt_oneshot_blocking_recv(crt_oneshot_rx **rx, void *elem)
{
    return crt__block_thread(crt__poll_oneshot, rx, elem, NULL, 0);
}
CRTDEF crt_poll crt_oneshot_closed(crt_cx *cx, crt_oneshot_tx *tx)
{
    crt__oneshot *o = (crt__oneshot *)tx;
    if (!crt__leaf(cx, &crt__op_oneshot_closed, o)) return CRT_UNWIND;
    if (!o) return crt__refuse(cx, CRT_EINVAL);
    bool waited = cx->slot->op != NULL;
    uintptr_t word = crt__word_park(cx, &crt__op_oneshot_closed, o, &o->closing);
    if (!word && !waited) crt__atomic_add(&o->refs, 1, CRT__RELAXED);
    if (!word) return CRT_PENDING;
    if (word != CRT__ONESHOT_RX_GONE) return crt__refuse(cx, CRT_EBUSY);
    if (!crt__coop(cx)) return CRT_PENDING;
    crt__slot_cancel(cx->slot);
    return 0;
}
CRTDEF bool crt_oneshot_is_closed(const crt_oneshot_tx *tx)
{
    return crt__atomic_load(&((const crt__oneshot *)tx)->closing, CRT__ACQUIRE) == CRT__ONESHOT_RX_GONE;
}

// --- mpsc: a queue of blocks
// A sender claims the place of its element by one CAS on `tail`, writes it there and
// marks it ready; the receiver takes what is ready, and counts `taken` up. So a message
// costs two read-modify-writes (one if unbounded), and no lock that somebody may hold.
//
//     first (receiver)                      last
//       v                                     v
//     [. . r r] -> [r r r r] -> ... -> [r c r .]       room = capacity - (tail -
//          ^ taken                           ^ tail            taken) - reserved
//
// What is rare is done under the lock: the first element of each block, waiting for room,
// permits, the end. SLOW in `tail` says so: while it is set only the holder of the lock
// claims. Invariants:
//  * SLOW is set and cleared under the lock. It stays set while a sender waits (nobody
//    overtakes) and once the channel is closed.
//  * Without the lock a sender claims place n only if SLOW is clear, n is not the first
//    of a block, and there is room by `taken_seen` (an old one is too low at worst) and by
//    `reserved`. That grows only while SLOW is set, and SLOW is then not cleared before
//    the count of tail has changed (`raised`): who read tail first, then reserved, and
//    finds tail unchanged in the end has seen no less than there is.
//  * `last` changes under the lock, when n is the first of a block. Who claims n read
//    `last` while tail was n already, and still is: it is the block of n.
//  * The receiver sets PARKED under the lock, by a CAS which fails if anything was claimed.
//    The sender whose claim clears it wakes the receiver, through the lock.
// Orders: an element is published by `ready` (release, acquire). A claim is an acquire, for
// what the holder of the lock wrote before it moved tail or cleared SLOW, and a release:
// `last` was read before it, so a holder that sees the claim changes `last` after that.
// Claims of a sender come before it leaves `senders` (release); the receiver looks at that
// (acquire) before it looks at tail: at the end it misses nothing.
//
// Bit 0 of `taken` says that a sender waits. A sender sets it by a read-modify-
// write and looks again before it queues; the receiver sees it in the very
// operation that makes room: on one word, no order is left to chance. Room that
// is made while senders wait goes to them in order (`reserved`). Of a waiting sender:
// slot.extra = permits asked for, slot.value = permits still missing (only the head of
// the queue has collected any).

enum { CRT__BLOCK = 32, CRT__SPARE_BLOCKS = 1 };
enum { CRT__MPSC_PARKED = 1, CRT__MPSC_SLOW = 2, CRT__MPSC_ONE = 4 };

typedef struct crt__block {
    struct crt__block *next;     // atomic
    uint8_t ready[CRT__BLOCK];   // atomic
    crt__aligned data[];
} crt__block;

typedef struct crt__mpsc {
    size_t size, capacity;   // capacity 0: unbounded
    size_t block_mask;       // elements of a block - 1, a power of two less one
    void (*drop)(void *elem, void *user);
    void *drop_user;
    uint32_t refs, senders;  // atomic
    uint32_t weak, spares;   // weak: atomic
    crt__waitq q;            // waiting senders; its lock guards what is not atomic
    crt__block *spare;
    crt_slot *receiver;      // parked
    crt__waitq closing;      // senders that wait for it to close
    uint32_t closed;         // atomic for readers: the receiver takes no more
    bool raised;             // reserved grew, and nothing was claimed since
    char senders_pad[CRT__CACHE_LINE];
    crt__u64 tail;           // atomic: elements claimed x ONE | SLOW | PARKED
    crt__u64 taken_seen;     // atomic: the count of `taken` as a sender last had to look at it
    size_t reserved;         // atomic, changed under the lock
    crt__block *last;        // atomic
    char receiver_pad[CRT__CACHE_LINE];
    crt__u64 taken;          // atomic: 2 x count | somebody waits to send
    crt__block *first;       // atomic; the receiver's once something was sent
} crt__mpsc;

static uint64_t crt__mpsc_sent(const crt__mpsc *c) { return crt__atomic_load(&c->tail, CRT__ACQUIRE) / CRT__MPSC_ONE; }
static uint64_t crt__mpsc_taken(const crt__mpsc *c) { return crt__atomic_load(&c->taken, CRT__RELAXED) / 2; }
static size_t crt__mpsc_room(const crt__mpsc *c, uint64_t taken)
{
    if (!c->capacity) return SIZE_MAX;
    size_t used = (size_t)(crt__mpsc_sent(c) - taken / 2) + c->reserved;
    return used < c->capacity ? c->capacity - used : 0;
}
static size_t crt__mpsc_block_bytes(const crt__mpsc *c) { return sizeof(crt__block) + (c->block_mask + 1) * c->size; }

// How many blocks are kept for the next elements: one; without threads as many as hold what
// a bounded channel has room for, wherever in a block that begins.
static size_t crt__mpsc_spares_most(const crt__mpsc *c)
{
    return CRT__THREADS || !c->capacity ? CRT__SPARE_BLOCKS : (c->capacity + c->block_mask) / (c->block_mask + 1) + 1;
}
static bool crt__mpsc_stock(crt__mpsc *c)
{
    while (c->capacity && c->spares < crt__mpsc_spares_most(c)) {
        crt__block *b = CRT_MALLOC(crt__mpsc_block_bytes(c));
        if (!b) return false;
        b->next = c->spare;
        c->spare = b;
        c->spares++;
    }
    return true;
}
CRTDEF int crt_mpsc_new(size_t elem_size, size_t capacity, crt_mpsc_tx **tx, crt_mpsc_rx **rx)
{
    if (!tx || !rx) return CRT_EINVAL;
    *tx = NULL;
    *rx = NULL;
    if (elem_size > CRT__ELEM_MOST) return CRT_EINVAL;
    crt__mpsc *c = CRT_MALLOC(sizeof *c);
    if (!c) return CRT_ENOMEM;
    memset(c, 0, sizeof *c);
    c->size = elem_size;
    c->block_mask = CRT__BLOCK - 1;
    while (c->block_mask && (c->block_mask + 1) * elem_size > 4096) c->block_mask >>= 1;
    // Without threads a bounded channel has all its memory from the start (crt__mpsc_stock),
    // in blocks no longer than it needs.
    while (!CRT__THREADS && capacity && c->block_mask / 2 + 1 >= capacity && c->block_mask) c->block_mask >>= 1;
    c->capacity = capacity;
    c->refs = 2;
    c->senders = 1;
    *tx = (crt_mpsc_tx *)c;
    *rx = (crt_mpsc_rx *)c;
    if (CRT__THREADS || crt__mpsc_stock(c)) return 0;
    crt_mpsc_tx_drop(tx);
    crt_mpsc_rx_drop(rx);
    return CRT_ENOMEM;
}
// The lock, and with it the right to claim.
static void crt__mpsc_enter(crt__mpsc *c)
{
    crt__lock(&c->q.lock);
    if (crt__atomic_load(&c->tail, CRT__ACQUIRE) & CRT__MPSC_SLOW) return;
    crt__atomic_or(&c->tail, (uint64_t)CRT__MPSC_SLOW, CRT__ACQ_REL);
    c->raised = false;
}
// Lets go of the lock, and of the right to claim unless it has to be asked for.
static void crt__mpsc_leave(crt__mpsc *c)
{
    bool slow = (crt__atomic_load(&c->tail, CRT__RELAXED) & CRT__MPSC_SLOW) != 0;
    if (slow && !c->q.head && !c->raised && !c->closed)
        crt__atomic_and(&c->tail, ~(uint64_t)CRT__MPSC_SLOW, CRT__RELEASE);
    crt__unlock(&c->q.lock);
}
// Under the lock.
static void crt__mpsc_unpark(crt__mpsc *c)
{
    c->receiver = NULL;
    if (crt__atomic_load(&c->tail, CRT__RELAXED) & CRT__MPSC_PARKED)
        crt__atomic_and(&c->tail, ~(uint64_t)CRT__MPSC_PARKED, CRT__RELAXED);
}
static void crt__mpsc_wake_receiver(crt__mpsc *c, crt__list *ready)
{
    crt_slot *r = c->receiver;
    if (!r) return;
    crt_task *task = r->task;
    crt__mpsc_unpark(c);
    crt__atomic_store(&r->state, CRT__SLOT_GRANTED, CRT__RELEASE);
    crt__wake_into(ready, task);
}
static void crt__mpsc_wake_now(crt__mpsc *c)
{
    crt__list ready = {NULL, NULL};
    crt__lock(&c->q.lock);
    crt__mpsc_wake_receiver(c, &ready);
    crt__unlock(&c->q.lock);
    crt__submit_list(&ready);
}
// The block for what is sent next; under the lock. False: no memory.
static bool crt__mpsc_add_block(crt__mpsc *c, bool first)
{
    crt__block *b = c->spare;
    if (b) {
        c->spare = b->next;
        c->spares--;
    } else if (!(b = CRT_MALLOC(crt__mpsc_block_bytes(c)))) {
        return false;
    }
    b->next = NULL;
    memset(b->ready, 0, sizeof b->ready);
    crt__block *before = crt__atomic_load(&c->last, CRT__RELAXED);
    if (first) crt__atomic_store(&c->first, b, CRT__RELEASE);
    else crt__atomic_store(&before->next, b, CRT__RELEASE);
    crt__atomic_store(&c->last, b, CRT__RELAXED);   // published with tail
    return true;
}
static inline void crt__mpsc_put(crt__mpsc *c, crt__block *b, size_t i, const void *elem)
{
    crt__copy((char *)b->data + i * c->size, elem, c->size);
    crt__atomic_store(&b->ready[i], 1, CRT__RELEASE);
}
// Appends, with the right to claim. False: no memory for a block.
static bool crt__mpsc_append(crt__mpsc *c, const void *elem, crt__list *ready)
{
    uint64_t word = crt__atomic_load(&c->tail, CRT__RELAXED), n = word / CRT__MPSC_ONE;
    size_t i = (size_t)n & c->block_mask;
    if (i == 0 && !crt__mpsc_add_block(c, n == 0)) return false;
    crt__mpsc_put(c, crt__atomic_load(&c->last, CRT__RELAXED), i, elem);
    crt__atomic_store(&c->tail, word + CRT__MPSC_ONE, CRT__RELEASE);   // nobody else changes it now
    c->raised = false;
    crt__mpsc_wake_receiver(c, ready);
    return true;
}
#ifdef CRT__BARE
// Between claim and mark a handler that receives would wait for ever for what it has
// interrupted: all is sent under the lock, with interrupts off.
static inline bool crt__mpsc_send_now(crt__mpsc *c, const void *elem) { return (void)c, (void)elem, false; }
#else
// Sends without the lock, as a rule. False: it has to be asked.
static inline bool crt__mpsc_send_now(crt__mpsc *c, const void *elem)
{
    uint64_t word = crt__atomic_load(&c->tail, CRT__ACQUIRE), n;
    crt__block *last;
    do {
        n = word / CRT__MPSC_ONE;
        if ((word & CRT__MPSC_SLOW) || !(n & c->block_mask)) return false;
        if (c->capacity) {
            size_t reserved = crt__atomic_load(&c->reserved, CRT__RELAXED);
            if (n - crt__atomic_load(&c->taken_seen, CRT__RELAXED) + reserved >= c->capacity) {
                uint64_t taken = crt__atomic_load(&c->taken, CRT__ACQUIRE) / 2;
                if (n - taken + reserved >= c->capacity) return false;
                crt__atomic_store(&c->taken_seen, taken, CRT__RELAXED);
            }
        }
        last = crt__atomic_load(&c->last, CRT__RELAXED);
    } while (!crt__atomic_cas_weak(&c->tail, &word, (word + CRT__MPSC_ONE) & ~(uint64_t)CRT__MPSC_PARKED,
                                   CRT__ACQ_REL, CRT__ACQUIRE));
    crt__mpsc_put(c, last, (size_t)n & c->block_mask, elem);
    if (word & CRT__MPSC_PARKED) crt__mpsc_wake_now(c);
    return true;
}
#endif
// Permits, under the lock; more of them only with the right to claim.
static void crt__mpsc_reserved_add(crt__mpsc *c, size_t n)
{
    crt__atomic_store(&c->reserved, c->reserved + n, CRT__RELAXED);
    if (n) c->raised = true;
}
static void crt__mpsc_reserved_sub(crt__mpsc *c, size_t n)
{
    crt__atomic_store(&c->reserved, c->reserved - n, CRT__RELAXED);
}
// Hands room to the senders that wait; under the lock.
static void crt__mpsc_serve(crt__mpsc *c, crt__list *ready)
{
    size_t room = crt__mpsc_room(c, crt__atomic_load(&c->taken, CRT__ACQUIRE));
    for (crt_slot *head; room && (head = c->q.head);) {
        size_t take = crt__min(room, (size_t)head->value);
        room -= take;
        crt__mpsc_reserved_add(c, take);
        head->value -= take;
        if (!head->value) crt__waitq_grant(&c->q, head, CRT__SLOT_GRANTED, ready);
    }
    if (!c->q.head) crt__atomic_and(&c->taken, ~(uint64_t)1, CRT__ACQ_REL);
}
// May n elements be sent at once? With the right to claim: 0, CRT_ECLOSED, CRT_EFULL.
static int crt__mpsc_permit(crt__mpsc *c, size_t n)
{
    if (c->closed) return CRT_ECLOSED;
    if (!n) return 0;
    if (c->q.head) return CRT_EFULL;
    return crt__mpsc_room(c, crt__atomic_load(&c->taken, CRT__ACQUIRE)) >= n ? 0 : CRT_EFULL;
}
// Nothing is there: is it over? Under the lock.
static bool crt__mpsc_over(crt__mpsc *c)
{
    return !crt__atomic_load(&c->senders, CRT__ACQUIRE) || (c->closed && !c->reserved);
}
// Permits go back; the receiver may be waiting for the last of them.
static void crt__mpsc_give_back(crt__mpsc *c, size_t n, crt__list *ready)
{
    crt__mpsc_reserved_sub(c, n);
    crt__mpsc_serve(c, ready);
    if (crt__mpsc_over(c)) crt__mpsc_wake_receiver(c, ready);
}
static void crt__op_send_cancel(crt_slot *slot)
{
    crt__mpsc *c = slot->object;
    crt__list ready = {NULL, NULL};
    crt__lock(&c->q.lock);
    if (slot->state == CRT__SLOT_QUEUED) crt__waitq_unlink(&c->q, slot);
    if (slot->state != CRT__SLOT_CLOSED) crt__mpsc_give_back(c, slot->extra - (size_t)slot->value, &ready);
    crt__mpsc_leave(c);
    crt__submit_list(&ready);
}
static const crt__op crt__op_send = {"mpsc send", crt__op_send_cancel};

// Waits for room for n. 0: the lock is held, with the right to claim, and the room may be
// used at once (*reserved: it is counted already). Otherwise the lock is free.
static crt_poll crt__mpsc_wait_room(crt_cx *cx, crt__mpsc *c, size_t n, bool *reserved)
{
    crt_slot *slot = cx->slot;
    *reserved = false;
    if (!c) return crt__refuse(cx, CRT_EINVAL);
    if (!crt__leaf(cx, &crt__op_send, c)) return CRT_UNWIND;
    uint32_t state = slot->op ? crt__atomic_load(&slot->state, CRT__ACQUIRE) : 0;
    if (state == CRT__SLOT_QUEUED || !crt__coop(cx)) return CRT_PENDING;
    crt__mpsc_enter(c);
    slot->op = NULL;
    if (state == CRT__SLOT_GRANTED) return *reserved = true, 0;
    int r = state ? CRT_ECLOSED : crt__mpsc_permit(c, n);
    if (r == CRT_EFULL) {
        // Say that we wait, then look again: the receiver makes room by an
        // operation on the same word.
        uint64_t taken = crt__atomic_or(&c->taken, 1, CRT__ACQ_REL);
        size_t take = c->q.head ? 0 : crt__min(crt__mpsc_room(c, taken), n);
        if (take == n) return 0;   // the bit stays: the receiver's next look clears it
        crt__mpsc_reserved_add(c, take);
        slot->extra = (uint32_t)n;
        slot->value = n - take;
        crt__waitq_park(cx, &crt__op_send, c, &c->q);
        r = (int)CRT_PENDING;
    }
    if (r) crt__mpsc_leave(c);
    return r;
}
static int crt__mpsc_send_locked(crt__mpsc *c, const void *elem, bool reserved)
{
    crt__list ready = {NULL, NULL};
    bool ok = crt__mpsc_append(c, elem, &ready);
    if (reserved && ok) crt__mpsc_reserved_sub(c, 1);
    else if (reserved) crt__mpsc_give_back(c, 1, &ready);
    crt__mpsc_leave(c);
    crt__submit_list(&ready);
    return ok ? 0 : CRT_ENOMEM;
}
CRTDEF crt_poll crt_mpsc_send(crt_cx *cx, crt_mpsc_tx *tx, const void *elem)
{
    crt__mpsc *c = (crt__mpsc *)tx;
    bool reserved;
    if (CRT__UNLIKELY(!elem && c && c->size)) return crt__slot_cancel(cx->slot), crt__refuse(cx, CRT_EINVAL);
    if (c) crt__check_operand(cx, "mpsc_send", elem, c->size, CRT__ELEMENT_GIVEN, false);
    if (CRT__LIKELY(c && !cx->slot->op && !cx->unwind)) {   // there is room, as a rule
        if (!crt__coop(cx)) return CRT_PENDING;
        if (CRT__LIKELY(crt__mpsc_send_now(c, elem))) return 0;
        crt__coop_return(cx);
    }
    crt_poll r = crt__mpsc_wait_room(cx, c, 1, &reserved);
    return r == 0 ? crt__mpsc_send_locked(c, elem, reserved) : r;
}
CRTDEF crt_poll crt_mpsc_reserve_many(crt_cx *cx, crt_mpsc_tx *tx, size_t n)
{
    crt__mpsc *c = (crt__mpsc *)tx;
    bool reserved;
    if (c && ((c->capacity && n > c->capacity) || n > UINT32_MAX)) return crt__refuse(cx, CRT_EINVAL);
    crt_poll r = crt__mpsc_wait_room(cx, c, n, &reserved);
    if (r) return r;
    if (!reserved) crt__mpsc_reserved_add(c, n);
    crt__mpsc_leave(c);
    return 0;
}
CRTDEF crt_poll crt_mpsc_reserve(crt_cx *cx, crt_mpsc_tx *tx) { return crt_mpsc_reserve_many(cx, tx, 1); }
CRTDEF int crt_mpsc_try_send(crt_mpsc_tx *tx, const void *elem)
{
    crt__mpsc *c = (crt__mpsc *)tx;
    if (!c || (!elem && c->size)) return CRT_EINVAL;
    if (CRT__LIKELY(crt__mpsc_send_now(c, elem))) return 0;
    crt__mpsc_enter(c);
    int r = crt__mpsc_permit(c, 1);
    if (r == 0) return crt__mpsc_send_locked(c, elem, false);
    crt__mpsc_leave(c);
    return r;
}
CRTDEF int crt_mpsc_try_reserve_many(crt_mpsc_tx *tx, size_t n)
{
    crt__mpsc *c = (crt__mpsc *)tx;
    if (!c || (c->capacity && n > c->capacity) || n > UINT32_MAX) return CRT_EINVAL;
    crt__mpsc_enter(c);
    int r = crt__mpsc_permit(c, n);
    if (r == 0) crt__mpsc_reserved_add(c, n);
    crt__mpsc_leave(c);
    return r;
}
CRTDEF int crt_mpsc_try_reserve(crt_mpsc_tx *tx) { return crt_mpsc_try_reserve_many(tx, 1); }
CRTDEF int crt_mpsc_send_reserved(crt_mpsc_tx *tx, const void *elem)
{
    crt__mpsc *c = (crt__mpsc *)tx;
    if (!c || (!elem && c->size)) return CRT_EINVAL;
    crt__mpsc_enter(c);
    if (!c->reserved) return crt__mpsc_leave(c), CRT_EINVAL;
    return crt__mpsc_send_locked(c, elem, true);
}
CRTDEF void crt_mpsc_unreserve(crt_mpsc_tx *tx)
{
    crt__mpsc *c = (crt__mpsc *)tx;
    crt__list ready = {NULL, NULL};
    if (!c) return;
    crt__lock(&c->q.lock);
    CRT_ASSERT(c->reserved && "crt_mpsc_unreserve: nothing is reserved; one of these or a send_reserved for each");
    crt__mpsc_give_back(c, 1, &ready);
    crt__mpsc_leave(c);
    crt__submit_list(&ready);
}

// The receiver goes on to the next block; the emptied one goes back to the senders.
static void crt__mpsc_next_block(crt__mpsc *c, crt__block *next)
{
    crt__block *b = crt__atomic_load(&c->first, CRT__RELAXED);
    crt__atomic_store(&c->first, next, CRT__RELAXED);
    crt__lock(&c->q.lock);
    bool keep = c->spares < crt__mpsc_spares_most(c);
    if (keep) {
        b->next = c->spare;
        c->spare = b;
        c->spares++;
    }
    crt__unlock(&c->q.lock);
    if (!keep) CRT_FREE(b);
}
static void crt__mpsc_serve_now(crt__mpsc *c)
{
    crt__list ready = {NULL, NULL};
    crt__lock(&c->q.lock);
    crt__mpsc_serve(c, &ready);
    crt__mpsc_leave(c);
    crt__submit_list(&ready);
}
// The element at the front, to the caller or to its end; or false: not ready. Receiver only.
static inline bool crt__mpsc_take(crt__mpsc *c, void *elem, bool deliver)
{
    uint64_t n = crt__mpsc_taken(c);
    size_t i = (size_t)n & c->block_mask;
    crt__block *b = crt__atomic_load(&c->first, CRT__ACQUIRE);
    bool next = i == 0 && n;
    if (next) b = crt__atomic_load(&b->next, CRT__ACQUIRE);
    if (!b || !crt__atomic_load(&b->ready[i], CRT__ACQUIRE)) return false;
    if (next) crt__mpsc_next_block(c, b);
    char *at = (char *)b->data + i * c->size;
    if (deliver && (elem || !c->size)) crt__copy(elem, at, c->size);
    else if (c->drop) c->drop(at, c->drop_user);
    if (!c->capacity) crt__atomic_store(&c->taken, 2 * n + 2, CRT__RELEASE);   // nobody waits for room
    else if (crt__atomic_add(&c->taken, 2, CRT__ACQ_REL) & 1) crt__mpsc_serve_now(c);
    return true;
}
// As above. What was claimed comes before whatever was sent after it: it is waited for, which
// takes the copying of one element, unless its sender's thread does not run.
static CRT__OUTLINE bool crt__mpsc_await_claimed(crt__mpsc *c, void *elem, bool deliver)
{
    for (int i = 0; crt__mpsc_sent(c) != crt__mpsc_taken(c); i++) {
        if (crt__mpsc_take(c, elem, deliver)) return true;
        if (i < CRT__LOCK_SPINS) crt__cpu_relax();
        else crt__nap();
    }
    return false;
}
static inline bool crt__mpsc_take_claimed(crt__mpsc *c, void *elem, bool deliver)
{
    return crt__mpsc_take(c, elem, deliver) || crt__mpsc_await_claimed(c, elem, deliver);
}
static void crt__op_recv_cancel(crt_slot *slot)
{
    crt__mpsc *c = slot->object;
    crt__lock(&c->q.lock);
    if (c->receiver == slot) crt__mpsc_unpark(c);
    crt__unlock(&c->q.lock);
}
static const crt__op crt__op_recv = {"mpsc recv", crt__op_recv_cancel};

// Nothing was there: is it over, or may the receiver park (`slot`)? 0: look again.
static int crt__mpsc_nothing(crt_cx *cx, crt__mpsc *c, crt_slot *slot)
{
    int r = 0;
    crt__lock(&c->q.lock);
    bool over = crt__mpsc_over(c);   // before the tail: what the last sender has sent without the lock is there
    uint64_t word = crt__atomic_load(&c->tail, CRT__ACQUIRE);
    if (word / CRT__MPSC_ONE != crt__mpsc_taken(c)) {
        r = 0;
    } else if (over) {
        r = CRT_ECLOSED;
    } else if (!slot) {
        r = CRT_EEMPTY;
    } else if (CRT__UNLIKELY(c->receiver && c->receiver != slot)) {
        r = CRT_EBUSY;   // two tasks share the receiver
    } else if (crt__atomic_cas(&c->tail, &word, word | CRT__MPSC_PARKED, CRT__ACQ_REL, CRT__RELAXED)) {
        crt__coop_return(cx);
        crt__slot_park(cx, slot, &crt__op_recv, c);
        slot->state = CRT__SLOT_QUEUED;
        c->receiver = slot;
        r = (int)CRT_PENDING;
    }
    crt__unlock(&c->q.lock);
    return r;
}
CRTDEF int crt_mpsc_try_recv(crt_mpsc_rx *rx, void *elem)
{
    crt__mpsc *c = (crt__mpsc *)rx;
    if (!c) return CRT_EINVAL;
    for (int r = 0; !crt__mpsc_take_claimed(c, elem, true);)
        if ((r = crt__mpsc_nothing(NULL, c, NULL))) return r;
    return 0;
}
CRTDEF crt_poll crt_mpsc_recv(crt_cx *cx, crt_mpsc_rx *rx, void *elem)
{
    crt__mpsc *c = (crt__mpsc *)rx;
    if (!c) return crt__refuse(cx, CRT_EINVAL);
    crt_poll r = crt__waitq_enter(cx, &crt__op_recv, c, &c->q);
    if (r < 0) return r;
    while (!crt__mpsc_take_claimed(c, elem, true))
        if ((r = crt__mpsc_nothing(cx, c, cx->slot))) return r;
    return 0;
}
CRTDEF crt_poll crt_mpsc_recv_many(crt_cx *cx, crt_mpsc_rx *rx, void *elems, size_t max)
{
    crt__mpsc *c = (crt__mpsc *)rx;
    if (!max) return crt__refuse(cx, 0);
    crt_poll r = crt_mpsc_recv(cx, rx, elems);
    if (r) return r;
    size_t n = 1;
    while (n < max && n < INT_MAX && crt__mpsc_take(c, elems ? (char *)elems + n * c->size : NULL, true)) n++;
    return (crt_poll)n;
}

static crt_poll crt__poll_mpsc_send(crt_cx *cx, crt__call_of *call) { return crt_mpsc_send(cx, call->object, call->a); }
static crt_poll crt__poll_mpsc_recv(crt_cx *cx, crt__call_of *call) { return crt_mpsc_recv(cx, call->object, call->a); }
static crt_poll crt__poll_mpsc_recv_many(crt_cx *cx, crt__call_of *call)
{
    return crt_mpsc_recv_many(cx, call->object, call->a, call->n);
}
CRTDEF int crt_mpsc_blocking_send(crt_mpsc_tx *tx, const void *elem)
{
    return crt__block_thread(crt__poll_mpsc_send, tx, (void *)(uintptr_t)elem, NULL, 0);
}
CRTDEF int crt_mpsc_blocking_recv(crt_mpsc_rx *rx, void *elem)
{
    return crt__block_thread(crt__poll_mpsc_recv, rx, elem, NULL, 0);
}
CRTDEF int crt_mpsc_blocking_recv_many(crt_mpsc_rx *rx, void *elems, size_t max)
{
    return crt__block_thread(crt__poll_mpsc_recv_many, rx, elems, NULL, max);
}

static void crt__mpsc_unref(crt__mpsc *c)
{
    if (crt__atomic_sub(&c->refs, 1, CRT__ACQ_REL) != 1) return;
    while (crt__mpsc_take(c, NULL, false)) {}
    if (c->first) CRT_FREE(c->first);
    for (crt__block *b = c->spare, *after; b; b = after) {
        after = b->next;
        CRT_FREE(b);
    }
    CRT_FREE(c);
}
CRTDEF crt_mpsc_tx *crt_mpsc_tx_clone(crt_mpsc_tx *tx)
{
    crt__mpsc *c = (crt__mpsc *)tx;
    if (!c) return NULL;
    crt__atomic_add(&c->senders, 1, CRT__RELAXED);
    crt__atomic_add(&c->refs, 1, CRT__RELAXED);
    return tx;
}
CRTDEF void crt_mpsc_tx_drop(crt_mpsc_tx **tx)
{
    crt__mpsc *c = tx ? (crt__mpsc *)*tx : NULL;
    if (!c) return;
    *tx = NULL;
    if (crt__atomic_sub(&c->senders, 1, CRT__ACQ_REL) == 1) crt__mpsc_wake_now(c);
    crt__mpsc_unref(c);
}
CRTDEF void crt_mpsc_rx_close(crt_mpsc_rx *rx)
{
    crt__mpsc *c = (crt__mpsc *)rx;
    crt__list ready = {NULL, NULL};
    if (!c) return;
    crt__mpsc_enter(c);
    crt__atomic_store(&c->closed, 1, CRT__RELEASE);
    for (crt_slot *head; (head = c->q.head);) {   // what it had collected goes back
        crt__mpsc_reserved_sub(c, head->extra - (size_t)head->value);
        crt__waitq_grant(&c->q, head, CRT__SLOT_CLOSED, &ready);
    }
    if (!c->reserved) crt__mpsc_wake_receiver(c, &ready);   // else the last permit does
    crt__mpsc_leave(c);
    crt__submit_list(&ready);
    crt__waitq_release_all(&c->closing);
}
CRTDEF void crt_mpsc_rx_drop(crt_mpsc_rx **rx)
{
    crt__mpsc *c = rx ? (crt__mpsc *)*rx : NULL;
    if (!c) return;
    crt_mpsc_rx_close(*rx);
    *rx = NULL;
    while (crt__mpsc_take_claimed(c, NULL, false)) {}   // values that nobody will see are released now
    crt__mpsc_unref(c);
}
CRTDEF bool crt_mpsc_is_closed(const crt_mpsc_tx *tx)
{
    return crt__atomic_load(&((const crt__mpsc *)tx)->closed, CRT__ACQUIRE) != 0;
}
CRTDEF bool crt_mpsc_rx_is_closed(const crt_mpsc_rx *rx)
{
    return crt_mpsc_is_closed((const crt_mpsc_tx *)rx) || crt_mpsc_sender_count(rx) == 0;
}
static const crt__op crt__op_mpsc_closed = {"mpsc closed", crt__op_waitq_cancel};
CRTDEF crt_poll crt_mpsc_closed(crt_cx *cx, crt_mpsc_tx *tx)
{
    if (!tx) return crt__refuse(cx, CRT_EINVAL);
    return crt__wait_flag(cx, &crt__op_mpsc_closed, &((crt__mpsc *)tx)->closing, &((crt__mpsc *)tx)->closed);
}
CRTDEF size_t crt_mpsc_len(const crt_mpsc_rx *rx)
{
    const crt__mpsc *c = (const crt__mpsc *)rx;
    uint64_t taken = crt__atomic_load(&c->taken, CRT__ACQUIRE) / 2, sent = crt__mpsc_sent(c);
    return sent > taken ? (size_t)(sent - taken) : 0;
}
CRTDEF size_t crt_mpsc_capacity(crt_mpsc_tx *tx)
{
    crt__mpsc *c = (crt__mpsc *)tx;
    crt__lock(&c->q.lock);
    size_t room = c->q.head ? 0 : crt__mpsc_room(c, crt__atomic_load(&c->taken, CRT__ACQUIRE));
    crt__unlock(&c->q.lock);
    return room;
}
CRTDEF size_t crt_mpsc_max_capacity(const crt_mpsc_tx *tx)
{
    size_t n = ((const crt__mpsc *)tx)->capacity;
    return n ? n : SIZE_MAX;
}
CRTDEF size_t crt_mpsc_sender_count(const crt_mpsc_rx *rx)
{
    return crt__atomic_load(&((const crt__mpsc *)rx)->senders, CRT__ACQUIRE);
}
CRTDEF size_t crt_mpsc_weak_count(const crt_mpsc_rx *rx)
{
    return crt__atomic_load(&((const crt__mpsc *)rx)->weak, CRT__ACQUIRE);
}
CRTDEF bool crt_mpsc_same_channel(const crt_mpsc_tx *a, const crt_mpsc_tx *b) { return a == b; }
CRTDEF crt_mpsc_weak_tx *crt_mpsc_tx_downgrade(crt_mpsc_tx *tx)
{
    return crt_mpsc_weak_tx_clone((crt_mpsc_weak_tx *)tx);
}
CRTDEF crt_mpsc_weak_tx *crt_mpsc_weak_tx_clone(crt_mpsc_weak_tx *w)
{
    crt__mpsc *c = (crt__mpsc *)w;
    if (!c) return NULL;
    crt__atomic_add(&c->weak, 1, CRT__RELAXED);
    crt__atomic_add(&c->refs, 1, CRT__RELAXED);
    return w;
}
CRTDEF crt_mpsc_tx *crt_mpsc_weak_tx_upgrade(crt_mpsc_weak_tx *w)
{
    crt__mpsc *c = (crt__mpsc *)w;
    if (!c || !crt__count_up_unless_zero(&c->senders)) return NULL;
    crt__atomic_add(&c->refs, 1, CRT__RELAXED);
    return (crt_mpsc_tx *)c;
}
CRTDEF void crt_mpsc_weak_tx_drop(crt_mpsc_weak_tx **w)
{
    crt__mpsc *c = w ? (crt__mpsc *)*w : NULL;
    if (!c) return;
    *w = NULL;
    crt__atomic_sub(&c->weak, 1, CRT__RELAXED);
    crt__mpsc_unref(c);
}
CRTDEF void crt_mpsc_on_drop(crt_mpsc_rx *rx, void (*drop)(void *elem, void *user), void *user)
{
    crt__mpsc *c = (crt__mpsc *)rx;
    crt__lock(&c->q.lock);
    c->drop = drop;
    c->drop_user = user;
    crt__unlock(&c->q.lock);
}

// --- broadcast: a ring under one lock
// Value number i lies at i mod capacity; a receiver remembers the number it wants
// next. With callbacks `left[i]` counts the receivers that have yet to see it: with the
// last of them the value is released, or when the ring comes round to its place.
// Without callbacks a receiver copies several values while it has the lock, and hands
// them out without it; none counts as seen before it is handed out.
//
//     receiver     next                copied
//                   v                    v
//     copies       [x x x x x x x x x x x]        each x also in the ring, at first
//
// Invariant: a value is overwritten only when every receiver has been given it (below
// `seen`) or none may take it from its copies any more (below `lost`: ask the ring,
// under the lock). `seen` is a lower bound of all `next`, which only grow: the sender
// looks at the receivers when the bound does not do. That somebody lags is told half a
// ring in advance, so that it need not look again at each value.
//   Orders: none is needed. `next` and `lost` are numbers that publish nothing, and
//   copies are the receiver's own. A receiver that hands out a copy while it is
//   overwritten in the ring received before that send; a send that happened before is
//   seen in `lost`, and a receipt that happened before in `next`, by coherence.

typedef struct crt__broadcast {
    size_t size;
    uint64_t mask;            // capacity - 1
    crt__u64 lost;            // atomic, written under the lock
    uint32_t ahead, counted;  // values that a receiver may copy; are there callbacks?
    crt_elem_ops ops;
    uint32_t *left;           // after the data
    uint32_t senders, refs;   // atomic
    char pad[CRT__CACHE_LINE];   // what follows is written at each send
    crt__waitq q;             // waiting receivers; its lock guards the rest
    crt__waitq closing;       // senders that wait for the last receiver to go
    uint64_t tail, seen;      // the number of the next value
    crt_broadcast_rx *first;
    uint32_t receivers, idle; // atomic for readers; idle: 1 while there is none
    crt__aligned data[];
} crt__broadcast;
struct crt_broadcast_rx {
    crt__broadcast *c;
    crt__u64 next;            // atomic, written by the receiver
    uint64_t copied;          // the receiver's
    crt_broadcast_rx *after, **before;   // among the channel's; under its lock
    crt__aligned copies[];     // value i at i mod `ahead`
};
enum { CRT__BROADCAST_AHEAD = 32, CRT__BROADCAST_AHEAD_BYTES = 256 };

CRTDEF int crt_broadcast_new(size_t elem_size, size_t capacity, crt_broadcast_tx **tx)
{
    size_t n = 1, ahead = CRT__BROADCAST_AHEAD;
    if (!tx) return CRT_EINVAL;
    *tx = NULL;
    if (!capacity || capacity > SIZE_MAX / 4 || elem_size > CRT__ELEM_MOST) return CRT_EINVAL;
    while (n < capacity) n *= 2;
    size_t each = elem_size + sizeof(uint32_t);
    if (n > (SIZE_MAX / 2 - sizeof(crt__broadcast)) / each) return CRT_EINVAL;
    size_t data = (n * elem_size + 7) / 8 * 8;
    crt__broadcast *c = CRT_MALLOC(sizeof *c + data + n * sizeof(uint32_t));
    if (!c) return CRT_ENOMEM;
    memset(c, 0, sizeof *c);
    while (ahead && (ahead > n || ahead * elem_size > CRT__BROADCAST_AHEAD_BYTES)) ahead /= 2;
    c->ahead = (uint32_t)ahead;
    c->size = elem_size;
    c->mask = n - 1;
    c->senders = 1;
    c->refs = 1;
    c->idle = 1;
    c->left = (uint32_t *)(void *)((char *)c->data + data);
    memset(c->left, 0, n * sizeof(uint32_t));
    *tx = (crt_broadcast_tx *)c;
    return 0;
}
static void *crt__broadcast_at(crt__broadcast *c, uint64_t n)
{
    return (char *)c->data + (size_t)(n & c->mask) * c->size;
}
static uint64_t crt__broadcast_oldest(const crt__broadcast *c)
{
    return c->tail > c->mask ? c->tail - (c->mask + 1) : 0;
}
static void crt__broadcast_unref(crt__broadcast *c)
{
    if (crt__atomic_sub(&c->refs, 1, CRT__ACQ_REL) == 1) CRT_FREE(c);
}
// One receiver fewer has to see value n.
static void crt__broadcast_seen(crt__broadcast *c, uint64_t n)
{
    if (!c->counted) return;
    uint32_t *left = &c->left[n & c->mask];
    if (--*left == 0 && c->ops.drop) c->ops.drop(crt__broadcast_at(c, n), c->ops.user);
}
static int crt__broadcast_join(crt__broadcast *c, crt_broadcast_rx **rx)
{
    if (rx) *rx = NULL;
    if (!rx || !c) return CRT_EINVAL;
    crt_broadcast_rx *r = *rx = CRT_MALLOC(sizeof *r + c->ahead * c->size);
    if (!r) return CRT_ENOMEM;
    crt__atomic_add(&c->refs, 1, CRT__RELAXED);
    crt__lock(&c->q.lock);
    r->c = c;
    r->next = r->copied = c->tail;
    r->after = c->first;
    r->before = &c->first;
    if (r->after) r->after->before = &r->after;
    c->first = r;
    crt__atomic_store(&c->receivers, c->receivers + 1, CRT__RELEASE);
    crt__atomic_store(&c->idle, 0, CRT__RELEASE);
    crt__unlock(&c->q.lock);
    return 0;
}
CRTDEF int crt_broadcast_subscribe(crt_broadcast_tx *tx, crt_broadcast_rx **rx)
{
    return crt__broadcast_join((crt__broadcast *)tx, rx);
}
CRTDEF int crt_broadcast_resubscribe(const crt_broadcast_rx *of, crt_broadcast_rx **rx)
{
    return crt__broadcast_join(of ? of->c : NULL, rx);
}
// The value that every receiver has been given all before; under the lock.
static uint64_t crt__broadcast_all_seen(const crt__broadcast *c)
{
    uint64_t all = c->tail;
    for (crt_broadcast_rx *r = c->first; r; r = r->after) {
        uint64_t next = crt__atomic_load(&r->next, CRT__RELAXED);
        all = crt__min(all, next);
    }
    return all;
}
// The oldest value is about to be overwritten; under the lock.
static void crt__broadcast_overwrite(crt__broadcast *c)
{
    uint64_t oldest = c->tail - (c->mask + 1);
    if (oldest < c->seen || oldest < c->lost) return;
    c->seen = crt__broadcast_all_seen(c);
    if (oldest < c->seen) return;
    crt__atomic_store(&c->lost, oldest + 1 + (c->mask + 1) / 2, CRT__RELAXED);
}
CRTDEF int crt_broadcast_send(crt_broadcast_tx *tx, const void *elem)
{
    crt__broadcast *c = (crt__broadcast *)tx;
    crt__list ready = {NULL, NULL};
    if (!c || (!elem && c->size)) return CRT_EINVAL;
    crt__lock(&c->q.lock);
    uint32_t n = c->receivers;
    if (n) {
        void *at = crt__broadcast_at(c, c->tail);
        if (c->counted) {
            uint32_t *left = &c->left[c->tail & c->mask];
            if (*left && c->ops.drop) c->ops.drop(at, c->ops.user);   // somebody lags behind
            *left = n;
        } else if (c->tail > c->mask) {
            crt__broadcast_overwrite(c);
        }
        crt__copy(at, elem, c->size);
        c->tail++;
        crt__waitq_grant_all(&c->q, CRT__SLOT_GRANTED_ALL, &ready);
    }
    crt__unlock(&c->q.lock);
    crt__submit_list(&ready);
    return n ? (int)crt__min(n, (uint32_t)INT_MAX) : CRT_ECLOSED;
}
CRTDEF crt_broadcast_tx *crt_broadcast_tx_clone(crt_broadcast_tx *tx)
{
    crt__broadcast *c = (crt__broadcast *)tx;
    if (!c) return NULL;
    crt__atomic_add(&c->refs, 1, CRT__RELAXED);
    crt__atomic_add(&c->senders, 1, CRT__RELAXED);
    return tx;
}
CRTDEF void crt_broadcast_tx_drop(crt_broadcast_tx **tx)
{
    crt__broadcast *c = tx ? (crt__broadcast *)*tx : NULL;
    if (!c) return;
    *tx = NULL;
    if (crt__atomic_sub(&c->senders, 1, CRT__ACQ_REL) == 1) crt__waitq_release_all(&c->q);
    crt__broadcast_unref(c);
}
CRTDEF void crt_broadcast_rx_drop(crt_broadcast_rx **rx)
{
    crt_broadcast_rx *r = rx ? *rx : NULL;
    if (!r) return;
    *rx = NULL;
    crt__broadcast *c = r->c;
    crt__lock(&c->q.lock);
    if (c->counted)
        for (uint64_t i = crt__max(r->next, crt__broadcast_oldest(c)); i < c->tail; i++) crt__broadcast_seen(c, i);
    *r->before = r->after;
    if (r->after) r->after->before = r->before;
    crt__atomic_store(&c->receivers, c->receivers - 1, CRT__RELEASE);
    bool last = c->receivers == 0;
    if (last) crt__atomic_store(&c->idle, 1, CRT__RELEASE);
    crt__unlock(&c->q.lock);
    if (last) crt__waitq_release_all(&c->closing);
    crt__broadcast_unref(c);
    CRT_FREE(r);
}
// The next value from the receiver's own copies; or false: ask the ring.
static inline bool crt__broadcast_hand_out(crt_broadcast_rx *r, void *elem)
{
    crt__broadcast *c = r->c;
    uint64_t n = r->next;
    if (n == r->copied || n < crt__atomic_load(&c->lost, CRT__RELAXED)) return false;
    crt__copy(elem, (char *)r->copies + (size_t)(n & (c->ahead - 1)) * c->size, c->size);
    crt__atomic_store(&r->next, n + 1, CRT__RELAXED);
    return true;
}
// Copies what follows; under the lock.
static void crt__broadcast_copy_ahead(crt_broadcast_rx *r)
{
    crt__broadcast *c = r->c;
    uint64_t end = crt__min(c->tail, r->next + c->ahead);
    r->copied = r->next;
    for (size_t n; r->copied < end; r->copied += n) {   // in pieces: both rings may come round
        size_t to = (size_t)(r->copied & (c->ahead - 1)), from = (size_t)(r->copied & c->mask);
        n = crt__min((size_t)(end - r->copied), c->ahead - to);
        n = crt__min(n, (size_t)(c->mask + 1) - from);
        crt__copy((char *)r->copies + to * c->size, (char *)c->data + from * c->size, n * c->size);
    }
}
// Under the lock: 0, CRT_ELAGGED, CRT_EEMPTY, CRT_ECLOSED.
static int crt__broadcast_take(crt_broadcast_rx *r, void *elem, uint64_t *lagged)
{
    crt__broadcast *c = r->c;
    uint64_t n = r->next, oldest = crt__broadcast_oldest(c);
    if (n == c->tail) return crt__atomic_load(&c->senders, CRT__ACQUIRE) ? CRT_EEMPTY : CRT_ECLOSED;
    if (n < oldest) {
        if (lagged) *lagged = oldest - n;
        crt__atomic_store(&r->next, oldest, CRT__RELAXED);
        r->copied = oldest;
        return CRT_ELAGGED;
    }
    crt__copy(elem, crt__broadcast_at(c, n), c->size);
    if (c->ops.clone && (elem || !c->size)) c->ops.clone(elem, c->ops.user);
    crt__broadcast_seen(c, n);
    crt__atomic_store(&r->next, n + 1, CRT__RELAXED);
    if (c->counted || !c->ahead) r->copied = n + 1;
    else crt__broadcast_copy_ahead(r);
    return 0;
}
CRTDEF int crt_broadcast_try_recv(crt_broadcast_rx *rx, void *elem, uint64_t *lagged)
{
    if (!rx) return CRT_EINVAL;
    if (crt__broadcast_hand_out(rx, elem)) return 0;
    crt__lock(&rx->c->q.lock);
    int r = crt__broadcast_take(rx, elem, lagged);
    crt__unlock(&rx->c->q.lock);
    return r;
}
static const crt__op crt__op_broadcast = {"broadcast recv", crt__op_waitq_cancel};
CRTDEF crt_poll crt_broadcast_recv(crt_cx *cx, crt_broadcast_rx *rx, void *elem, uint64_t *lagged)
{
    if (!rx) return crt__refuse(cx, CRT_EINVAL);
    crt__waitq *q = &rx->c->q;
    crt_poll r = crt__waitq_enter(cx, &crt__op_broadcast, q, q);
    if (r < 0) return r;
    if (crt__broadcast_hand_out(rx, elem)) return 0;
    crt__lock(&q->lock);
    r = crt__broadcast_take(rx, elem, lagged);
    if (r == CRT_EEMPTY) {
        crt__waitq_park(cx, &crt__op_broadcast, q, q);
        r = CRT_PENDING;
    }
    crt__unlock(&q->lock);
    return r;
}
static crt_poll crt__poll_broadcast(crt_cx *cx, crt__call_of *call)
{
    return crt_broadcast_recv(cx, call->object, call->a, call->b);
}
CRTDEF int crt_broadcast_blocking_recv(crt_broadcast_rx *rx, void *elem, uint64_t *lagged)
{
    return crt__block_thread(crt__poll_broadcast, rx, elem, lagged, 0);
}
static const crt__op crt__op_broadcast_closed = {"broadcast closed", crt__op_waitq_cancel};
CRTDEF crt_poll crt_broadcast_closed(crt_cx *cx, crt_broadcast_tx *tx)
{
    crt__broadcast *c = (crt__broadcast *)tx;
    if (!c) return crt__refuse(cx, CRT_EINVAL);
    return crt__wait_flag(cx, &crt__op_broadcast_closed, &c->closing, &c->idle);
}
CRTDEF size_t crt_broadcast_sender_count(const crt_broadcast_tx *tx)
{
    return crt__atomic_load(&((const crt__broadcast *)tx)->senders, CRT__ACQUIRE);
}
CRTDEF size_t crt_broadcast_receiver_count(const crt_broadcast_tx *tx)
{
    return crt__atomic_load(&((const crt__broadcast *)tx)->receivers, CRT__ACQUIRE);
}
CRTDEF size_t crt_broadcast_len(const crt_broadcast_tx *tx)
{
    crt__broadcast *c = (crt__broadcast *)(uintptr_t)tx;
    crt__lock(&c->q.lock);
    uint64_t first = crt__max(crt__broadcast_all_seen(c), crt__broadcast_oldest(c));
    size_t n = (size_t)(c->tail - first);
    crt__unlock(&c->q.lock);
    return n;
}
CRTDEF size_t crt_broadcast_rx_len(const crt_broadcast_rx *rx)
{
    crt__lock(&rx->c->q.lock);
    size_t n = (size_t)(rx->c->tail - crt__atomic_load(&rx->next, CRT__RELAXED));
    crt__unlock(&rx->c->q.lock);
    return n;
}
CRTDEF bool crt_broadcast_same_channel(const crt_broadcast_tx *a, const crt_broadcast_tx *b) { return a == b; }
CRTDEF crt_broadcast_weak_tx *crt_broadcast_tx_downgrade(crt_broadcast_tx *tx)
{
    if (tx) crt__atomic_add(&((crt__broadcast *)tx)->refs, 1, CRT__RELAXED);
    return (crt_broadcast_weak_tx *)tx;
}
CRTDEF crt_broadcast_tx *crt_broadcast_weak_tx_upgrade(crt_broadcast_weak_tx *w)
{
    crt__broadcast *c = (crt__broadcast *)w;
    if (!c || !crt__count_up_unless_zero(&c->senders)) return NULL;
    crt__atomic_add(&c->refs, 1, CRT__RELAXED);
    return (crt_broadcast_tx *)c;
}
CRTDEF void crt_broadcast_weak_tx_drop(crt_broadcast_weak_tx **w)
{
    crt__broadcast *c = w ? (crt__broadcast *)*w : NULL;
    if (!c) return;
    *w = NULL;
    crt__broadcast_unref(c);
}
CRTDEF void crt_broadcast_set_ops(crt_broadcast_tx *tx, const crt_elem_ops *ops)
{
    crt__broadcast *c = (crt__broadcast *)tx;
    crt__lock(&c->q.lock);
    c->ops = *ops;
    c->counted = ops->clone || ops->drop;
    crt__unlock(&c->q.lock);
}

// --- watch: a value and its version under one lock

typedef struct crt__watch {
    crt__waitq q;            // waiting receivers; its lock guards the rest
    crt__waitq closing;      // senders that wait for the last receiver to go
    uint32_t refs, senders;  // atomic
    uint32_t receivers, idle;   // atomic for readers; idle: 1 while there is none
    size_t size;
    crt__u64 version;        // atomic for readers
    crt_elem_ops ops;
    crt__aligned data[];
} crt__watch;
struct crt_watch_rx {
    crt__watch *c;
    uint64_t seen;
};
enum { CRT__WATCH_NEVER = -1 };   // as a version that was seen: none

static int crt__watch_join(crt__watch *c, const crt_watch_rx *of, crt_watch_rx **rx)
{
    if (rx) *rx = NULL;
    if (!rx || !c) return CRT_EINVAL;
    crt_watch_rx *r = *rx = CRT_MALLOC(sizeof *r);
    if (!r) return CRT_ENOMEM;
    crt__atomic_add(&c->refs, 1, CRT__RELAXED);
    crt__lock(&c->q.lock);
    r->c = c;
    r->seen = of ? of->seen : c->version;
    crt__atomic_store(&c->receivers, c->receivers + 1, CRT__RELEASE);
    crt__atomic_store(&c->idle, 0, CRT__RELEASE);
    crt__unlock(&c->q.lock);
    return 0;
}
CRTDEF int crt_watch_subscribe(crt_watch_tx *tx, crt_watch_rx **rx)
{
    return crt__watch_join((crt__watch *)tx, NULL, rx);
}
CRTDEF int crt_watch_rx_clone(const crt_watch_rx *of, crt_watch_rx **rx)
{
    return crt__watch_join(of ? of->c : NULL, of, rx);
}
CRTDEF int crt_watch_new(size_t elem_size, const void *first, crt_watch_tx **tx, crt_watch_rx **rx)
{
    if (!tx || !rx) return CRT_EINVAL;
    *tx = NULL;
    *rx = NULL;
    if (elem_size > CRT__ELEM_MOST || (elem_size && !first)) return CRT_EINVAL;
    crt__watch *c = CRT_MALLOC(sizeof *c + elem_size);
    if (!c) return CRT_ENOMEM;
    memset(c, 0, sizeof *c);
    c->refs = c->senders = 1;
    c->size = elem_size;
    crt__copy(c->data, first, elem_size);
    int e = crt__watch_join(c, NULL, rx);
    if (e) CRT_FREE(c);
    else *tx = (crt_watch_tx *)c;
    return e;
}
static void crt__watch_unref(crt__watch *c)
{
    if (crt__atomic_sub(&c->refs, 1, CRT__ACQ_REL) != 1) return;
    if (c->ops.drop) c->ops.drop(c->data, c->ops.user);
    CRT_FREE(c);
}
// The value has changed: a new version, and everybody is told. Takes the lock over.
static void crt__watch_tell(crt__watch *c)
{
    crt__list ready = {NULL, NULL};
    crt__atomic_store(&c->version, c->version + 1, CRT__RELEASE);
    crt__waitq_grant_all(&c->q, CRT__SLOT_GRANTED_ALL, &ready);
    crt__unlock(&c->q.lock);
    crt__submit_list(&ready);
}
static void crt__watch_store(crt__watch *c, const void *elem, void *old)
{
    if (old) crt__copy(old, c->data, c->size);
    else if (c->ops.drop) c->ops.drop(c->data, c->ops.user);
    crt__copy(c->data, elem, c->size);
    crt__watch_tell(c);
}
CRTDEF int crt_watch_send(crt_watch_tx *tx, const void *elem)
{
    crt__watch *c = (crt__watch *)tx;
    if (!c || (!elem && c->size)) return CRT_EINVAL;
    crt__lock(&c->q.lock);
    if (!c->receivers) {
        crt__unlock(&c->q.lock);
        return CRT_ECLOSED;
    }
    crt__watch_store(c, elem, NULL);
    return 0;
}
CRTDEF int crt_watch_send_replace(crt_watch_tx *tx, const void *elem, void *old)
{
    crt__watch *c = (crt__watch *)tx;
    if (!c || (!elem && c->size)) return CRT_EINVAL;
    crt__lock(&c->q.lock);
    crt__watch_store(c, elem, old);
    return 0;
}
CRTDEF bool crt_watch_send_if_modified(crt_watch_tx *tx, bool (*modify)(void *elem, void *user), void *user)
{
    crt__watch *c = (crt__watch *)tx;
    if (!c || !modify) return false;
    crt__lock(&c->q.lock);
    bool changed = modify(c->data, user);
    if (changed) crt__watch_tell(c);
    else crt__unlock(&c->q.lock);
    return changed;
}
CRTDEF int crt_watch_send_modify(crt_watch_tx *tx, void (*modify)(void *elem, void *user), void *user)
{
    crt__watch *c = (crt__watch *)tx;
    if (!c || !modify) return CRT_EINVAL;
    crt__lock(&c->q.lock);
    modify(c->data, user);
    crt__watch_tell(c);
    return 0;
}
// Copies the value out; under the lock.
static void crt__watch_copy(crt__watch *c, void *elem)
{
    crt__copy(elem, c->data, c->size);
    if (c->ops.clone && (elem || !c->size)) c->ops.clone(elem, c->ops.user);
}
static const crt__op crt__op_watch = {"watch changed", crt__op_waitq_cancel};
static const crt__op crt__op_watch_for = {"watch wait_for", crt__op_waitq_cancel};

// Waits for a version that was not seen; or for a value that fulfils the condition.
static crt_poll crt__watch_wait(crt_cx *cx, crt_watch_rx *rx, bool (*condition)(const void *, void *), void *user,
                                void *elem)
{
    if (!rx) return crt__refuse(cx, CRT_EINVAL);
    crt__watch *c = rx->c;
    const crt__op *op = condition ? &crt__op_watch_for : &crt__op_watch;
    crt_poll r = crt__waitq_enter(cx, op, &c->q, &c->q);
    if (r < 0) return r;
    r = 0;
    uint64_t version = crt__atomic_load(&c->version, CRT__ACQUIRE);
    if (!condition && rx->seen != version) {
        rx->seen = version;
        return 0;
    }
    crt__lock(&c->q.lock);
    if (condition ? condition(c->data, user) : rx->seen != c->version) {
        rx->seen = c->version;
        if (elem) crt__watch_copy(c, elem);
    } else if (!crt__atomic_load(&c->senders, CRT__ACQUIRE)) {
        r = CRT_ECLOSED;
    } else {
        crt__waitq_park(cx, op, &c->q, &c->q);
        r = CRT_PENDING;
    }
    crt__unlock(&c->q.lock);
    return r;
}
CRTDEF crt_poll crt_watch_changed(crt_cx *cx, crt_watch_rx *rx) { return crt__watch_wait(cx, rx, NULL, NULL, NULL); }
CRTDEF crt_poll crt_watch_wait_for(crt_cx *cx, crt_watch_rx *rx, bool (*condition)(const void *elem, void *user),
                                   void *user, void *elem)
{
    if (!condition) return crt__refuse(cx, CRT_EINVAL);
    return crt__watch_wait(cx, rx, condition, user, elem);
}
static uint64_t crt__watch_read(crt__watch *c, void *elem)
{
    crt__lock(&c->q.lock);
    crt__watch_copy(c, elem);
    uint64_t version = c->version;
    crt__unlock(&c->q.lock);
    return version;
}
CRTDEF void crt_watch_get(crt_watch_rx *rx, void *elem) { (void)crt__watch_read(rx->c, elem); }
CRTDEF void crt_watch_get_update(crt_watch_rx *rx, void *elem) { rx->seen = crt__watch_read(rx->c, elem); }
CRTDEF void crt_watch_tx_get(crt_watch_tx *tx, void *elem) { (void)crt__watch_read((crt__watch *)tx, elem); }
CRTDEF bool crt_watch_has_changed(const crt_watch_rx *rx)
{
    return crt__atomic_load(&rx->c->version, CRT__ACQUIRE) != rx->seen;
}
CRTDEF void crt_watch_mark_changed(crt_watch_rx *rx) { rx->seen = (uint64_t)CRT__WATCH_NEVER; }
CRTDEF void crt_watch_mark_unchanged(crt_watch_rx *rx) { rx->seen = crt__atomic_load(&rx->c->version, CRT__ACQUIRE); }
static const crt__op crt__op_watch_closed = {"watch closed", crt__op_waitq_cancel};
CRTDEF crt_poll crt_watch_closed(crt_cx *cx, crt_watch_tx *tx)
{
    crt__watch *c = (crt__watch *)tx;
    if (!c) return crt__refuse(cx, CRT_EINVAL);
    return crt__wait_flag(cx, &crt__op_watch_closed, &c->closing, &c->idle);
}
CRTDEF size_t crt_watch_sender_count(const crt_watch_tx *tx)
{
    return crt__atomic_load(&((const crt__watch *)tx)->senders, CRT__ACQUIRE);
}
CRTDEF size_t crt_watch_receiver_count(const crt_watch_tx *tx)
{
    return crt__atomic_load(&((const crt__watch *)tx)->receivers, CRT__ACQUIRE);
}
CRTDEF bool crt_watch_rx_is_closed(const crt_watch_rx *rx) { return !crt__atomic_load(&rx->c->senders, CRT__ACQUIRE); }
CRTDEF bool crt_watch_same_channel(const crt_watch_rx *a, const crt_watch_rx *b) { return a->c == b->c; }
CRTDEF crt_watch_tx *crt_watch_tx_clone(crt_watch_tx *tx)
{
    crt__watch *c = (crt__watch *)tx;
    if (!c) return NULL;
    crt__atomic_add(&c->refs, 1, CRT__RELAXED);
    crt__atomic_add(&c->senders, 1, CRT__RELAXED);
    return tx;
}
CRTDEF void crt_watch_tx_drop(crt_watch_tx **tx)
{
    crt__watch *c = tx ? (crt__watch *)*tx : NULL;
    if (!c) return;
    *tx = NULL;
    if (crt__atomic_sub(&c->senders, 1, CRT__ACQ_REL) == 1) crt__waitq_release_all(&c->q);
    crt__watch_unref(c);
}
CRTDEF void crt_watch_rx_drop(crt_watch_rx **rx)
{
    crt_watch_rx *r = rx ? *rx : NULL;
    if (!r) return;
    *rx = NULL;
    crt__watch *c = r->c;
    crt__lock(&c->q.lock);
    crt__atomic_store(&c->receivers, c->receivers - 1, CRT__RELEASE);
    bool last = c->receivers == 0;
    if (last) crt__atomic_store(&c->idle, 1, CRT__RELEASE);
    crt__unlock(&c->q.lock);
    if (last) crt__waitq_release_all(&c->closing);
    crt__watch_unref(c);
    CRT_FREE(r);
}
CRTDEF void crt_watch_set_ops(crt_watch_tx *tx, const crt_elem_ops *ops)
{
    crt__watch *c = (crt__watch *)tx;
    crt__lock(&c->q.lock);
    c->ops = *ops;
    crt__unlock(&c->q.lock);
}

// ---------------------------------------------------------------------------
// >>combinators   timeout, select, join
// ---------------------------------------------------------------------------
// Each is one expression that evaluates its arms in place, so it is called at the
// beginning, before and after each arm, and at the end. An arm is in one state:
//
//   FRESH -> ACTIVE (pending) -> DONE
//               '-> CANCELLING (unwind delivered, cleaning up) -> DONE      DISABLED
//
// Invariants. An unwind is delivered to an arm at most once, and only to an ACTIVE
// one; one that comes from outside while the losers clean up is remembered, not
// delivered again. cx->slot is that of the arm being evaluated and is put back
// after it. The group is listed in the task from the first poll to the result.

enum { CRT__ARM_FRESH = 0, CRT__ARM_ACTIVE, CRT__ARM_CANCELLING, CRT__ARM_DONE, CRT__ARM_DISABLED };
enum { CRT__PHASE_FRESH = 0, CRT__PHASE_POLL, CRT__PHASE_CANCEL };
enum { CRT__TIMEOUT_EXPIRED = 3, CRT__TIMEOUT_DONE = 4, CRT__TIMEOUT_UNWOUND = 5, CRT__TIMEOUT_WAITING = 6 };

// --- timeout. phase: POLL, EXPIRED (the next pass delivers the unwind), CANCEL,
// DONE; INSIDE as well while the expression is evaluated, and REFUSED if there is another time-out in there
// by the same timer, or a crt_timer_wait for it has not ended: that time-out does nothing. `set` is 1 if an unwind
// from outside was there when this poll began.

enum { CRT__TIMEOUT_INSIDE = 8, CRT__TIMEOUT_REFUSED = 16 };
static CRT__COLD void crt__timeout_refuse(crt_cx *cx, crt_timer *t)
{
    crt__say(cx->rt, CRT_LOG_ERROR, "%s",
             t->phase ? "a crt_timer is used inside its own crt_timeout: give the inner one another"
                      : "a crt_timeout was given a crt_timer that is awaited: give it one of its own");
    t->phase |= CRT__TIMEOUT_REFUSED;
}
CRTDEF void crt__timeout_begin(crt_cx *cx, crt_timer *t, int64_t when, bool absolute)
{
    bool fresh = t->phase == CRT__PHASE_FRESH;
    // Inside itself, or where a crt_timer_wait has it listed.
    if (CRT__UNLIKELY(fresh ? t->group.pprev != NULL : (t->phase & CRT__TIMEOUT_INSIDE) != 0)) {
        crt__timeout_refuse(cx, t);
        return;
    }
    if (fresh) {
        crt__timer_due(cx, t, when, absolute);
        t->phase = CRT__PHASE_POLL;
        t->result = CRT_ETIMEDOUT;
        crt__group_link(cx, &t->group, &t->slot, 1, 0);
    }
    t->set = cx->unwind;
    t->reset_in = cx->budget > 0 || cx->unconstrained;
    if (t->phase == CRT__PHASE_CANCEL && cx->unwind) {   // the losing arm has had its unwind
        cx->unwind = 0;
        t->result = CRT_UNWIND;
    }
}
CRTDEF bool crt__timeout_enter(crt_cx *cx, crt_timer *t)
{
    if (t->phase == CRT__TIMEOUT_EXPIRED) {
        cx->unwind = 1;
    } else if (t->phase == CRT__TIMEOUT_UNWOUND) {   // second pass of the same poll
        t->phase = CRT__PHASE_CANCEL;
        return false;
    } else if (t->phase != CRT__PHASE_POLL && t->phase != CRT__PHASE_CANCEL) {
        return false;
    }
    t->panics = cx->panics;
    t->phase |= CRT__TIMEOUT_INSIDE;
    return true;
}
// The clock is polled with whatever budget a busy expression has left, which must not hide it;
// but if there was none to begin with (`reset_in`), its end waits for the next poll, so that
// a loop of them does not hold the thread. At the first look slot.value is the clock: crt__timer_due.
static void crt__timeout_clock(crt_cx *cx, crt_timer *t)
{
    crt_slot *outer = cx->slot;
    cx->slot = &t->slot;
    crt_poll r = crt_unconstrained(cx, crt__sleep(cx, t->deadline, true, (crt_instant)t->slot.value));
    cx->slot = outer;
    if (r == 0 && !t->reset_in) {
        t->phase = CRT__TIMEOUT_WAITING;
        t->slot.value = 0;   // it looks anew
        cx->deferred = 2;
    } else if (r == 0) {
        t->phase = CRT__TIMEOUT_EXPIRED;
        if (!cx->unconstrained && cx->budget) cx->budget--;
    } else if (r != CRT_PENDING) {   // no time driver
        t->result = r;
        t->phase = CRT__TIMEOUT_EXPIRED;
    } else {
        t->phase = CRT__TIMEOUT_WAITING;
    }
}
CRTDEF void crt__timeout_leave(crt_cx *cx, crt_timer *t, crt_poll r)
{
    if (t->phase == (CRT__PHASE_POLL | CRT__TIMEOUT_INSIDE)) {
        if (r != CRT_PENDING) {
            crt__slot_cancel(cx->slot);   // a wait that the expression has given up by hand
            t->result = r;
            t->phase = CRT__TIMEOUT_DONE;
        } else if ((t->set && !cx->unwind) || cx->panics != t->panics) {
            // Cancelled from outside, or panicking: it cleans up, and the clock is off.
            t->result = CRT_UNWIND;
            t->phase = CRT__TIMEOUT_UNWOUND;
        } else {
            crt__timeout_clock(cx, t);
        }
        return;
    }
    // EXPIRED or CANCEL: an expression that took no notice of the unwind is left.
    bool ignored = cx->unwind != 0;
    bool first = t->phase == (CRT__TIMEOUT_EXPIRED | CRT__TIMEOUT_INSIDE);
    cx->unwind = 0;
    if (cx->panics != t->panics) t->result = CRT_UNWIND;   // the cleanup panicked
    if (r == CRT_PENDING && !ignored) {
        t->phase = first ? CRT__PHASE_CANCEL : CRT__TIMEOUT_UNWOUND;
        return;
    }
    if (ignored) crt__slot_cancel(cx->slot);
    t->phase = CRT__TIMEOUT_DONE;
}
CRTDEF crt_poll crt__timeout_end(crt_cx *cx, crt_timer *t)
{
    if (t->phase == CRT__TIMEOUT_DONE) {
        t->phase = CRT__PHASE_FRESH;
        t->set = 0;
        crt__slot_cancel(&t->slot);
        crt__group_unlink(&t->group);
        return t->result;
    }
    if (CRT__UNLIKELY(t->phase & CRT__TIMEOUT_REFUSED)) {
        t->phase &= ~(uint32_t)CRT__TIMEOUT_REFUSED;
        return crt__refuse(cx, CRT_EINVAL);
    }
    CRT_ASSERT(t->phase != CRT__TIMEOUT_UNWOUND);   // of the first pass: the second has seen it
    if (t->phase == CRT__TIMEOUT_WAITING) t->phase = CRT__PHASE_POLL;
    return CRT_PENDING;
}

// --- select and join

static crt__arm *crt__arm_at(crt__select *s, uint32_t i)
{
    return (crt__arm *)(void *)((char *)s->group.first + (size_t)i * s->group.stride);
}
// A select inside itself, by one CRT_SELECT used twice: the inner one does nothing but say so. Until its
// end cx->select is odd, which no address of one is; what it was, but for that.
static bool crt__select_refused(const crt__select *s) { return ((uintptr_t)s & 1) != 0; }
static CRT__COLD void crt__select_refuse(crt_cx *cx)
{
    crt__say(cx->rt, CRT_LOG_ERROR,
             "a CRT_SELECT, crt_until or crt_scope_try_run is used inside itself: give the inner one its own");
    cx->select = (crt__select *)(void *)((char *)cx->select + 1);
}
CRTDEF void crt__select_begin(crt_cx *cx, crt__select *s, crt__arm *arms, size_t n, int mode)
{
    for (const crt__select *o = cx->select; o; o = o->outer)
        if (CRT__UNLIKELY(o == s)) {
            crt__select_refuse(cx);
            return;
        }
    if (s->phase == CRT__PHASE_FRESH) {
        crt__group_link(cx, &s->group, &arms[0].slot, (uint32_t)n, sizeof *arms);
        for (size_t i = 0; i < n; i++) arms[i].state = arms[i].seen = 0;
        s->phase = CRT__PHASE_POLL;
        s->mode = (uint32_t)mode;
        s->winner = 0;
        s->serial = 0;
        s->entered = 0;
    }
    s->outer = cx->select;
    s->outer_slot = cx->slot;
    cx->select = s;
    if (++s->serial == 0) s->serial = 2;   // 1 is the first poll's alone
    s->turn = 0;
    // Polling starts at a random arm, at the first, or, in a join, at the next one each time: an arm that uses the
    // budget up, poll after poll, holds up no other for good.
    s->start = 0;
    if (mode == CRT__SELECT && n > 1 && s->phase == CRT__PHASE_POLL) {
        uint64_t stray = cx->task->id * 0x9E3779B97F4A7C15ull + s->serial;   // a poll without a worker
        s->start = crt__random_below(cx->worker ? &cx->worker->rng : &stray, (uint32_t)n);
    } else if (mode >= CRT__JOIN_ALL && n > 1 && s->phase == CRT__PHASE_POLL) {
        s->start = (s->serial - 1) % (uint32_t)n;
    }
    if (cx->unwind) {   // from outside: every arm gets one
        cx->unwind = 0;
        s->winner = CRT_UNWIND;
        s->phase = CRT__PHASE_CANCEL;
    }
}
CRTDEF bool crt__arm_enter(crt_cx *cx, int i, bool condition)
{
    crt__select *s = cx->select;
    if (CRT__UNLIKELY(!s)) {
        crt__say(cx->rt, CRT_LOG_ERROR, "crt_on(cx, %d, ...) stands outside crt_select: it does nothing", i);
        return false;
    }
    if (CRT__UNLIKELY(crt__select_refused(s))) return false;
    if (i < 0 || (uint32_t)i >= s->group.count) {
        if (s->phase == CRT__PHASE_POLL) {
            crt__say(cx->rt, CRT_LOG_ERROR, "crt_on(cx, %d, ...) in a CRT_SELECT(%u)", i, (unsigned)s->group.count);
            s->phase = CRT__PHASE_CANCEL;
            s->winner = CRT_EINVAL;
        }
        return false;
    }
    crt__arm *arm = crt__arm_at(s, (uint32_t)i);
    if (s->phase == CRT__PHASE_POLL) {
        if (s->serial == 1) {
            s->entered += s->turn == 0;
            if (arm->state == CRT__ARM_FRESH && !condition) arm->state = CRT__ARM_DISABLED;
        }
        if (arm->state >= CRT__ARM_DONE || arm->seen == s->serial) return false;
        if (s->turn == 0 && (uint32_t)i < s->start) return false;
        arm->state = CRT__ARM_ACTIVE;
    } else if (arm->state == CRT__ARM_ACTIVE) {
        arm->state = CRT__ARM_CANCELLING;
        cx->unwind = 1;
    } else if (arm->state != CRT__ARM_CANCELLING || arm->seen == s->serial) {
        return false;
    }
    arm->seen = s->serial;
    s->current = (uint32_t)i;
    s->panics = cx->panics;
    cx->slot = &arm->slot;
    return true;
}
CRTDEF void crt__arm_leave(crt_cx *cx, crt_poll r)
{
    crt__select *s = cx->select;
    crt__arm *arm = crt__arm_at(s, s->current);
    cx->slot = s->outer_slot;
    if (cx->panics != s->panics) {   // in the arm, which unwinds by itself, or in its cleanup
        s->winner = CRT_UNWIND;
        s->phase = CRT__PHASE_CANCEL;
        arm->state = CRT__ARM_CANCELLING;
    }
    if (arm->state == CRT__ARM_CANCELLING) {
        bool ignored = cx->unwind != 0;
        cx->unwind = 0;
        if (r == CRT_PENDING && !ignored) return;
        if (ignored) crt__slot_cancel(&arm->slot);
    } else {
        if (r == CRT_PENDING) return;
        bool ends = r == CRT_UNWIND || s->mode <= CRT__SELECT_BIASED || (s->mode == CRT__TRY_JOIN && r < 0);
        if (ends) {   // the first one: from then on arms are cancelled
            s->winner = r == CRT_UNWIND || s->mode > CRT__SELECT_BIASED ? r : (crt_poll)s->current;
            s->phase = CRT__PHASE_CANCEL;
        }
    }
    crt__slot_cancel(&arm->slot);   // a wait that the arm has given up by hand
    arm->state = CRT__ARM_DONE;
}
// Two arms with one index: the second would never be looked at. All are there to be seen
// after two passes of the first poll, unless it has been decided; the third cancels them.
static CRT__OUTLINE void crt__select_check(crt_cx *cx, crt__select *s)
{
    uint32_t met = 0;
    for (uint32_t i = 0; i < s->group.count; i++) met += crt__arm_at(s, i)->state != CRT__ARM_FRESH;
    if (met == s->entered) return;
    crt__say(cx->rt, CRT_LOG_ERROR, "crt_on: %u arms have %u different indices", (unsigned)s->entered, (unsigned)met);
    s->phase = CRT__PHASE_CANCEL;
    s->winner = CRT_EINVAL;
}
CRTDEF void crt__select_turn(crt_cx *cx)
{
    crt__select *s = cx->select;
    if (CRT__UNLIKELY(crt__select_refused(s))) return;
    if (++s->turn == 2 && s->serial == 1 && s->phase == CRT__PHASE_POLL) crt__select_check(cx, s);
}
CRTDEF crt_poll crt__select_end(crt_cx *cx)
{
    crt__select *s = cx->select;
    uint32_t active = 0;
    if (CRT__UNLIKELY(crt__select_refused(s))) {
        cx->select = (crt__select *)(void *)((char *)s - 1);
        return crt__refuse(cx, CRT_EINVAL);
    }
    cx->select = s->outer;
    for (uint32_t i = 0; i < s->group.count; i++) {
        uint32_t state = crt__arm_at(s, i)->state;
        active += state == CRT__ARM_ACTIVE || state == CRT__ARM_CANCELLING;
    }
    if (active) return CRT_PENDING;
    // None is done, then; or there is none at all, as crt_on counts them.
    bool none = s->phase == CRT__PHASE_POLL && (s->mode <= CRT__SELECT_BIASED || !s->entered);
    s->phase = CRT__PHASE_FRESH;
    crt__group_unlink(&s->group);
    if (CRT__LIKELY(!none)) return s->winner;
    if (s->entered) crt__say(cx->rt, CRT_LOG_DEBUG, "crt_select: every arm is disabled");
    else crt__say(cx->rt, CRT_LOG_ERROR, "crt_select, crt_join_all, crt_try_join: no arm is in crt_on");
    return crt__refuse(cx, CRT_EINVAL);
}

// ---------------------------------------------------------------------------
// >>groups        crews of tasks: scope, join set, join map, tracker, local set
// ---------------------------------------------------------------------------
// A crew is a list of tasks under a lock. Each of its tasks carries a crt__member
// before its frame, entered before the task can run and taken out, by the thread that
// completes it, before it is COMPLETE: while a task is listed, it is there.
//
//     live:  m <-> m <-> m          done (join sets only):  m -> m -> m
//
// Invariants. `count` is the length of live, plus tokens. A join set owns the JOIN
// reference of each of its tasks, live or done; in the others tasks have no handle
// unless the caller asked for one. The crews of join sets and trackers are counted:
// the owner and each live task hold a reference. Those of scopes and local sets lie
// in the user's memory, which must outlive the tasks: a scope sees to that itself.
// Who waits may go, and the memory with it, once it has seen the count at 0 under the
// lock: whoever counted down touches the crew no more after it has let go of it.

enum { CRT__CREW_LOCAL = 0, CRT__CREW_SCOPE, CRT__CREW_TRACKER, CRT__CREW_SET };
enum { CRT__CREW_CLOSED = 1, CRT__CREW_ABORTED = 2, CRT__CREW_DROPPED = 4 };   // crew.flags
enum { CRT__MEMBER_LIVE = 0, CRT__MEMBER_DONE = 1, CRT__MEMBER_FORGOTTEN = 2 };   // member.state

static crt__crew *crt__crew_new(uint32_t kind)
{
    crt__crew *c = CRT_MALLOC(sizeof *c);
    if (!c) return NULL;
    memset(c, 0, sizeof *c);
    c->kind = kind;
    c->refs = 1;
    return c;
}
static void crt__crew_ref(crt__crew *c)
{
    if (c->kind >= CRT__CREW_TRACKER) crt__atomic_add(&c->refs, 1, CRT__RELAXED);
}
static void crt__crew_unref(crt__crew *c)
{
    if (c->kind >= CRT__CREW_TRACKER && crt__atomic_sub(&c->refs, 1, CRT__ACQ_REL) == 1) CRT_FREE(c);
}
static uint32_t crt__crew_flags(const crt__crew *c)
{
    return c->kind >= CRT__CREW_TRACKER ? CRT__TASK_MEMBER : CRT__TASK_MEMBER | CRT__TASK_IN_SCOPE;
}
static crt_task *crt__member_task(crt__member *m) { return (crt_task *)(void *)m - 1; }

// Lists a task that nobody can run yet, and publishes it: with the same turn of the
// lock, so that who aborts the crew finds a task that is whole, and NOTIFIED already.
// False: the crew takes no more.
static bool crt__crew_add(crt__crew *c, crt_task *t, uint64_t key, bool join, uint32_t more_refs)
{
    crt__member *m = crt__member_of(t);
    crt__crew_ref(c);
    m->crew = c;
    m->prev = NULL;
    m->key = key;
    m->state = CRT__MEMBER_LIVE;
    crt__lock(&c->q.lock);
    bool open = c->kind != CRT__CREW_SCOPE || !(c->flags & CRT__CREW_ABORTED);
    if (open) {
        crt__task_publish(t, join, more_refs);
        m->next = c->live;
        if (m->next) m->next->prev = m;
        c->live = m;
        c->count++;
    }
    crt__unlock(&c->q.lock);
    if (!open) crt__crew_unref(c);
    return open;
}
static void crt__crew_push_done(crt__crew *c, crt__member *m)
{
    m->state = CRT__MEMBER_DONE;
    m->next = NULL;
    m->prev = c->done_last;
    if (m->prev) m->prev->next = m;
    else c->done = m;
    c->done_last = m;
    c->ready++;
}
static void crt__crew_pull_done(crt__crew *c, crt__member *m)
{
    if (m->prev) m->prev->next = m->next;
    else c->done = m->next;
    if (m->next) m->next->prev = m->prev;
    else c->done_last = m->prev;
    c->ready--;
}
// Takes a task that is complete off a join set's hands, which nobody will ask for.
static void crt__crew_drop_result(crt_task *t)
{
    crt_join_handle *h = (crt_join_handle *)t;
    crt_detach(&h);
}
// Is what they wait for there? Under the lock.
static bool crt__crew_over(const crt__crew *c)
{
    return !c->count && (c->kind != CRT__CREW_TRACKER || (c->flags & CRT__CREW_CLOSED));
}
// A member is about to be complete; its outcome is in place. True: its failure has
// been told to somebody.
static bool crt__crew_done(crt_task *t, bool failed)
{
    crt__member *m = crt__member_of(t);
    crt__crew *c = m->crew;
    crt__list ready = {NULL, NULL};
    bool told = false, counted = c->kind >= CRT__CREW_TRACKER;   // looked at now: a scope may go at the unlock
    crt__lock(&c->q.lock);
    if (m->prev) m->prev->next = m->next;
    else c->live = m->next;
    if (m->next) m->next->prev = m->prev;
    c->count--;
    bool forgotten = c->kind == CRT__CREW_SET && ((c->flags & CRT__CREW_DROPPED) || m->state == CRT__MEMBER_FORGOTTEN);
    if (c->kind == CRT__CREW_SET && !forgotten) crt__crew_push_done(c, m);
    if (c->kind == CRT__CREW_SCOPE && failed && !c->failure) {
        bool panicked = (t->flags & CRT__TASK_PANICKED) != 0;
        c->failure = panicked ? CRT_EPANIC : t->u.result;
        told = !panicked;   // the message of a panic has no other way to be seen
    }
    if (c->kind == CRT__CREW_SET || c->failure || crt__crew_over(c))
        crt__waitq_grant_all(&c->q, CRT__SLOT_GRANTED_ALL, &ready);
    crt__unlock(&c->q.lock);
    crt__submit_list(&ready);
    if (forgotten) crt__crew_drop_result(t);
    if (counted) crt__crew_unref(c);
    return told;
}
// Its result will be asked for by nobody.
static void crt__crew_forget(crt_task *t)
{
    crt__crew *c = crt__member_of(t)->crew;
    crt__lock(&c->q.lock);
    crt__member_of(t)->state = CRT__MEMBER_FORGOTTEN;
    crt__unlock(&c->q.lock);
}
// Aborts all that live. Tasks are marked under the lock, so that none of them can go
// meanwhile, and queued after it; jobs that have not begun are claimed and ended.
static void crt__crew_abort(crt__crew *c)
{
    crt__list ready = {NULL, NULL};
    crt_slot *claimed = NULL;
    crt__lock(&c->q.lock);
    c->flags |= CRT__CREW_ABORTED;
    for (crt__member *m = c->live; m; m = m->next) {
        crt_task *t = crt__member_task(m);
        if (!crt__is_job(t)) {
            if (crt__task_mark_aborted(t)) crt__list_push(&ready, t);
        } else if (crt__job_claim(t, CRT__CANCELLED)) {
            t->u.slot.next = claimed;
            claimed = &t->u.slot;
        }
    }
    crt__unlock(&c->q.lock);
    crt__submit_list(&ready);
    while (claimed) {
        crt_task *t = crt__container(claimed, crt_task, u.slot);
        claimed = claimed->next;
        crt__job_abandon(t);
    }
}
static const crt__op crt__op_crew = {"a group of tasks", crt__op_waitq_cancel};

// Waits until no task is left; of a tracker, until it is closed as well.
static crt_poll crt__crew_wait(crt_cx *cx, crt__crew *c)
{
    if (cx->task->flags & CRT__TASK_MEMBER && crt__member_of(cx->task)->crew == c)
        return crt__refuse(cx, CRT_EINVAL);   // it would wait for its own end
    crt_poll r = crt__waitq_enter(cx, &crt__op_crew, &c->q, &c->q);
    if (r < 0) return r;
    // A tracker was closed and empty then, though perhaps it is not any more.
    if (r == CRT__SLOT_GRANTED_ALL && c->kind == CRT__CREW_TRACKER) return 0;
    crt__lock(&c->q.lock);
    bool done = crt__crew_over(c);
    if (!done) crt__waitq_park(cx, &crt__op_crew, &c->q, &c->q);
    crt__unlock(&c->q.lock);
    return done ? 0 : CRT_PENDING;
}
static size_t crt__crew_count(crt__crew *c)
{
    crt__lock(&c->q.lock);
    size_t n = c->count + c->ready;
    crt__unlock(&c->q.lock);
    return n;
}
// On a runtime, from whatever thread.
static int crt__crew_spawn(crt_runtime *rt, crt__crew *c, uint64_t key, crt_join_handle **join, crt_fn fn,
                           const void *frame, size_t size, const char *site)
{
    crt__worker *w = crt__tls.worker;
    crt__spawn_how how = {.fn = fn, .frame = frame, .size = size, .join = join, .crew = c, .key = key};
    how.site = site;
    return crt__spawn_task(rt, w && w->rt == rt ? w : NULL, &how);
}

// --- scope: CLOSED -> OPEN (the body runs) -> DRAINING (it has ended) -> CLOSED

enum { CRT__SCOPE_CLOSED = 0, CRT__SCOPE_OPEN = 1, CRT__SCOPE_DRAINING = 2 };

CRTDEF bool crt__scope_open(crt_cx *cx, crt_scope *s)
{
    if (s->crt__phase == CRT__SCOPE_CLOSED) {
        s->crt__tasks.kind = CRT__CREW_SCOPE;
        s->crt__tasks.flags = 0;
        s->crt__tasks.failure = 0;
        s->crt__try = 0;
        crt__atomic_store(&s->crt__phase, CRT__SCOPE_OPEN, CRT__RELEASE);
    }
    if (s->crt__phase != CRT__SCOPE_OPEN) return false;
    if (cx->unwind) crt__crew_abort(&s->crt__tasks);   // beside the body, whose cleanup may wait for them
    return true;
}
CRTDEF void crt__scope_body(crt_cx *cx, crt_scope *s, crt_poll r)
{
    if (r == CRT_PENDING && CRT__LIKELY(!cx->unwind)) return;
    if (r == CRT_PENDING) {   // the body took no notice of the cancellation
        crt__slot_cancel(cx->slot);
        r = CRT_UNWIND;
    }
    s->crt__result = r;
    crt__atomic_store(&s->crt__phase, CRT__SCOPE_DRAINING, CRT__RELEASE);
    if (r == CRT_UNWIND) crt__crew_abort(&s->crt__tasks);
}
// In the form that a failure cancels, the body is one arm, the look-out the other. A look-out
// that was polled before a body that ended well has to look again.
CRTDEF crt_poll crt__scope_joined(crt_cx *cx, crt_scope *s, crt_poll r)
{
    s->crt__try = 1;
    if (r == CRT_PENDING && s->crt__sel.crt__arms[0].state == CRT__ARM_DONE) crt__task_wake(cx->task);
    if (r != CRT_PENDING && r != 0) crt__crew_abort(&s->crt__tasks);
    return r == 0 ? s->crt__body : r;
}
// Does a failure among the tasks that are left ask for the end of the others?
static bool crt__scope_failed(crt_scope *s)
{
    crt__lock(&s->crt__tasks.q.lock);
    bool failed = s->crt__tasks.failure && !(s->crt__tasks.flags & CRT__CREW_ABORTED);
    crt__unlock(&s->crt__tasks.q.lock);
    return failed && s->crt__try;
}
static const crt__op crt__op_scope_watch = {"a scope", crt__op_waitq_cancel};
CRTDEF crt_poll crt__scope_watch(crt_cx *cx, crt_scope *s)
{
    crt__crew *c = &s->crt__tasks;
    if (s->crt__sel.crt__arms[0].state == CRT__ARM_DONE && !cx->unwind) {
        crt__slot_cancel(cx->slot);
        return 0;
    }
    crt_poll r = crt__waitq_enter(cx, &crt__op_scope_watch, &c->q, &c->q);
    if (r < 0) return r;
    crt__lock(&c->q.lock);
    r = c->failure ? c->failure : CRT_PENDING;
    if (r == CRT_PENDING) crt__waitq_park(cx, &crt__op_scope_watch, &c->q, &c->q);
    crt__unlock(&c->q.lock);
    if (r != CRT_PENDING) crt__crew_abort(c);   // not only when the body has cleaned up
    return r;
}
CRTDEF crt_poll crt__scope_drain(crt_cx *cx, crt_scope *s)
{
    if (s->crt__phase != CRT__SCOPE_DRAINING) return CRT_PENDING;
    if (cx->unwind) {   // what remains to be done is to wait
        cx->unwind = 0;
        s->crt__result = CRT_UNWIND;
        crt__crew_abort(&s->crt__tasks);
    }
    if (crt__scope_failed(s)) crt__crew_abort(&s->crt__tasks);
    if (crt__crew_wait(cx, &s->crt__tasks) != 0) return CRT_PENDING;
    crt__atomic_store(&s->crt__phase, CRT__SCOPE_CLOSED, CRT__RELEASE);
    return s->crt__result >= 0 && s->crt__tasks.failure ? s->crt__tasks.failure : s->crt__result;
}
CRTDEF int crt__scope_spawn(crt_cx *cx, crt_scope *s, crt_fn fn, const void *frame, size_t size, const char *site)
{
    if (!s) return CRT_EINVAL;
    if (crt__atomic_load(&s->crt__phase, CRT__ACQUIRE) == CRT__SCOPE_CLOSED) {
        crt__say(cx->rt, CRT_LOG_ERROR, "crt_scope_spawn works inside crt_scope_run only");
        return CRT_ENOCONTEXT;
    }
    return crt__crew_spawn(cx->rt, &s->crt__tasks, 0, NULL, fn, frame, size, site);
}
CRTDEF void crt_scope_cancel(crt_scope *s)
{
    if (crt__atomic_load(&s->crt__phase, CRT__ACQUIRE) != CRT__SCOPE_CLOSED) crt__crew_abort(&s->crt__tasks);
}
CRTDEF size_t crt_scope_len(crt_scope *s) { return crt__crew_count(&s->crt__tasks); }

// --- join set

static int crt__join_set_crew(crt_join_set *set)
{
    if (!set->crt__tasks) set->crt__tasks = crt__crew_new(CRT__CREW_SET);
    return set->crt__tasks ? 0 : CRT_ENOMEM;
}
CRTDEF int crt__join_set_spawn(crt_runtime *rt, crt_join_set *set, crt_abort_handle **abort, crt_fn fn,
                               const void *frame, size_t size, const char *site)
{
    crt_join_handle *h = NULL;
    if (abort) *abort = NULL;
    if (!rt || !set) return CRT_EINVAL;
    int e = crt__join_set_crew(set);
    if (!e) e = crt__crew_spawn(rt, set->crt__tasks, 0, &h, fn, frame, size, site);
    if (!e && abort) *abort = crt_join_abort_handle(h);   // the set has the handle: it is still there
    return e;
}
CRTDEF int crt_join_set_spawn_blocking(crt_cx *cx, crt_join_set *set, intptr_t (*f)(void *), void *arg)
{
    int e = set ? crt__join_set_crew(set) : CRT_EINVAL;
    return e ? e : crt__pool_spawn_in(cx->rt, cx->worker, NULL, set->crt__tasks, f, arg);
}
// The first that is done, or NULL; under the lock.
static crt__member *crt__join_set_pop(crt__crew *c)
{
    crt__member *m = c->done;
    if (m) crt__crew_pull_done(c, m);
    return m;
}
// The outcome of a task that was popped.
static int crt__join_set_tell(crt_join_set *set, crt__member *m, uint64_t *id, intptr_t *result)
{
    crt_join_handle *h = (crt_join_handle *)crt__member_task(m);
    if (id) *id = crt_join_id(h);
    crt_detach(&set->crt__panicked);
    int r = crt__join_take(&h, result);
    set->crt__panicked = h;   // kept after CRT_EPANIC only, for the message
    return r;
}
// The next that is done into *m, at once: 0, CRT_EAGAIN, CRT_EEMPTY.
static int crt__join_set_look(crt__crew *c, crt__member **m)
{
    if (!c) return CRT_EEMPTY;
    crt__lock(&c->q.lock);
    *m = crt__join_set_pop(c);
    int r = *m ? 0 : c->count ? CRT_EAGAIN : CRT_EEMPTY;
    crt__unlock(&c->q.lock);
    return r;
}
CRTDEF int crt_join_set_try_next(crt_join_set *set, uint64_t *id, intptr_t *result)
{
    if (!set) return CRT_EINVAL;
    crt__member *m;
    int r = crt__join_set_look(set->crt__tasks, &m);
    return r == 0 ? crt__join_set_tell(set, m, id, result) : r;
}
static const crt__op crt__op_join_set = {"join set", crt__op_waitq_cancel};

// The next that is done into *m: 0, CRT_EEMPTY, or a sentinel.
static crt_poll crt__join_set_wait(crt_cx *cx, crt__crew *c, crt__member **m)
{
    if (!c) return crt__refuse(cx, CRT_EEMPTY);
    crt_poll r = crt__waitq_enter(cx, &crt__op_join_set, &c->q, &c->q);
    if (r < 0) return r;
    crt__lock(&c->q.lock);
    *m = crt__join_set_pop(c);
    r = *m ? 0 : c->count ? CRT_PENDING : CRT_EEMPTY;
    if (r == CRT_PENDING) crt__waitq_park(cx, &crt__op_join_set, &c->q, &c->q);
    crt__unlock(&c->q.lock);
    return r;
}
CRTDEF crt_poll crt_join_set_next_with_id(crt_cx *cx, crt_join_set *set, uint64_t *id, intptr_t *result)
{
    if (!set) return crt__refuse(cx, CRT_EINVAL);
    crt__member *m;
    crt_poll r = crt__join_set_wait(cx, set->crt__tasks, &m);
    return r == 0 ? crt__join_set_tell(set, m, id, result) : r;
}
CRTDEF crt_poll crt_join_set_next(crt_cx *cx, crt_join_set *set, intptr_t *result)
{
    if (!set) return crt__refuse(cx, CRT_EINVAL);
    return crt_join_set_next_with_id(cx, set, NULL, result);
}
CRTDEF const char *crt_join_set_panic_message(const crt_join_set *set)
{
    return crt_join_panic_message(set->crt__panicked);
}
CRTDEF size_t crt_join_set_len(const crt_join_set *set)
{
    return set->crt__tasks ? crt__crew_count(set->crt__tasks) : 0;
}
CRTDEF void crt_join_set_abort_all(crt_join_set *set)
{
    if (set->crt__tasks) crt__crew_abort(set->crt__tasks);
}
CRTDEF crt_poll crt_join_set_shutdown(crt_cx *cx, crt_join_set *set)
{
    crt__member *m = NULL;
    crt_poll r;
    if (!set) return crt__refuse(cx, CRT_EINVAL);
    if (!cx->slot->op && !cx->unwind) crt_join_set_abort_all(set);
    while ((r = crt__join_set_wait(cx, set->crt__tasks, &m)) == 0) crt__crew_drop_result(crt__member_task(m));
    return r == CRT_EEMPTY ? 0 : r;
}
// Lets go of the crew. From here on what its tasks come to is nobody's.
CRTDEF void crt_join_set_detach_all(crt_join_set *set)
{
    crt__crew *c = set->crt__tasks;
    crt_detach(&set->crt__panicked);
    if (!c) return;
    set->crt__tasks = NULL;
    crt__lock(&c->q.lock);
    c->flags |= CRT__CREW_DROPPED;
    crt__member *done = c->done;
    c->done = c->done_last = NULL;
    c->ready = 0;
    crt__unlock(&c->q.lock);
    while (done) {
        crt_task *t = crt__member_task(done);
        done = done->next;
        crt__crew_drop_result(t);
    }
    crt__crew_unref(c);
}
CRTDEF void crt_join_set_drop(crt_join_set *set)
{
    if (!set) return;
    crt_join_set_abort_all(set);
    crt_join_set_detach_all(set);
}

// --- join map: a chained hash table of the members, live and done, which its owner
// alone touches

static struct crt__member **crt__map_bucket(const crt_join_map *map, uint64_t key)
{
    uint64_t h = (key ^ key >> 32) * 0x9E3779B97F4A7C15ull;
    return &map->crt__buckets[(size_t)(h >> 32) & (map->crt__size - 1)];
}
static crt__member *crt__map_find(const crt_join_map *map, uint64_t key)
{
    crt__member *m = map->crt__size ? *crt__map_bucket(map, key) : NULL;
    while (m && m->key != key) m = m->chain;
    return m;
}
static void crt__map_insert(crt_join_map *map, crt__member *m)
{
    struct crt__member **bucket = crt__map_bucket(map, m->key);
    m->chain = *bucket;
    *bucket = m;
    map->crt__len++;
}
static void crt__map_remove(crt_join_map *map, crt__member *m)
{
    struct crt__member **p = crt__map_bucket(map, m->key);
    while (*p != m) p = &(*p)->chain;
    *p = m->chain;
    map->crt__len--;
}
// Room for one more: as many buckets as members.
static CRT__COLD int crt__map_grow(crt_join_map *map)
{
    if (map->crt__len < map->crt__size) return 0;
    crt_join_map bigger = *map;
    bigger.crt__len = 0;
    bigger.crt__size = map->crt__size ? map->crt__size * 2 : 8;
    bigger.crt__buckets = CRT_MALLOC(bigger.crt__size * sizeof(struct crt__member *));
    if (!bigger.crt__buckets) return CRT_ENOMEM;
    memset(bigger.crt__buckets, 0, bigger.crt__size * sizeof(struct crt__member *));
    for (size_t i = 0; i < map->crt__size; i++)
        for (crt__member *m = map->crt__buckets[i], *after; m; m = after) {
            after = m->chain;
            crt__map_insert(&bigger, m);
        }
    if (map->crt__buckets) CRT_FREE(map->crt__buckets);
    *map = bigger;
    return 0;
}
// A task whose place another one takes: aborted, and its result dropped.
static CRT__COLD void crt__map_forget(crt_join_map *map, crt__member *m)
{
    crt__crew *c = map->crt__set.crt__tasks;
    crt_task *t = crt__member_task(m);
    crt__map_remove(map, m);
    crt__task_ref(t);   // it may end, and go, at once
    crt__lock(&c->q.lock);
    bool done = m->state == CRT__MEMBER_DONE;
    if (done) crt__crew_pull_done(c, m);
    m->state = CRT__MEMBER_FORGOTTEN;
    crt__unlock(&c->q.lock);
    if (done) crt__crew_drop_result(t);
    else crt_abort((crt_join_handle *)t);
    crt__task_unref(t, 1);
}
CRTDEF int crt__join_map_spawn(crt_cx *cx, crt_join_map *map, uint64_t key, crt_fn fn, const void *frame, size_t size,
                               const char *site)
{
    crt_join_handle *h = NULL;
    if (!map) return CRT_EINVAL;
    int e = crt__join_set_crew(&map->crt__set);
    if (!e) e = crt__map_grow(map);
    if (!e) e = crt__crew_spawn(cx->rt, map->crt__set.crt__tasks, key, &h, fn, frame, size, site);
    if (e) return e;
    crt__member *old = crt__map_find(map, key);
    if (old) crt__map_forget(map, old);
    crt__map_insert(map, crt__member_of(crt__joined(h)));
    return 0;
}
static int crt__map_tell(crt_join_map *map, crt__member *m, uint64_t *key, intptr_t *result)
{
    if (key) *key = m->key;
    crt__map_remove(map, m);
    return crt__join_set_tell(&map->crt__set, m, NULL, result);
}
CRTDEF int crt_join_map_try_next(crt_join_map *map, uint64_t *key, intptr_t *result)
{
    if (!map) return CRT_EINVAL;
    crt__member *m;
    if (!map->crt__len) return CRT_EEMPTY;   // those that were forgotten do not count
    int r = crt__join_set_look(map->crt__set.crt__tasks, &m);
    return r == 0 ? crt__map_tell(map, m, key, result) : r;
}
CRTDEF crt_poll crt_join_map_next(crt_cx *cx, crt_join_map *map, uint64_t *key, intptr_t *result)
{
    if (!map) return crt__refuse(cx, CRT_EINVAL);
    crt__member *m;
    crt_poll r = crt__join_set_wait(cx, map->crt__set.crt__tasks, &m);
    // A task that was forgotten may be all that is left: the map is empty then.
    if (r == CRT_PENDING && !map->crt__len) {
        crt__slot_cancel(cx->slot);
        return crt__refuse(cx, CRT_EEMPTY);
    }
    return r == 0 ? crt__map_tell(map, m, key, result) : r;
}
CRTDEF const char *crt_join_map_panic_message(const crt_join_map *map)
{
    return crt_join_set_panic_message(&map->crt__set);
}
CRTDEF bool crt_join_map_abort(crt_join_map *map, uint64_t key)
{
    crt__member *m = crt__map_find(map, key);
    if (m) crt_abort((crt_join_handle *)crt__member_task(m));
    return m != NULL;
}
CRTDEF bool crt_join_map_contains(const crt_join_map *map, uint64_t key) { return crt__map_find(map, key) != NULL; }
CRTDEF size_t crt_join_map_len(const crt_join_map *map) { return map->crt__len; }
CRTDEF void crt_join_map_abort_all(crt_join_map *map) { crt_join_set_abort_all(&map->crt__set); }
CRTDEF void crt_join_map_abort_matching(crt_join_map *map, bool (*matches)(uint64_t key, void *user), void *user)
{
    for (size_t i = 0; i < map->crt__size; i++)
        for (crt__member *m = map->crt__buckets[i]; m; m = m->chain)
            if (matches(m->key, user)) crt_abort((crt_join_handle *)crt__member_task(m));
}
static void crt__map_clear(crt_join_map *map)
{
    if (map->crt__buckets) CRT_FREE(map->crt__buckets);
    map->crt__buckets = NULL;
    map->crt__size = map->crt__len = 0;
}
CRTDEF crt_poll crt_join_map_shutdown(crt_cx *cx, crt_join_map *map)
{
    crt__member *m = NULL;
    crt_poll r;
    if (!map) return crt__refuse(cx, CRT_EINVAL);
    if (!cx->slot->op && !cx->unwind) crt_join_map_abort_all(map);
    // Each leaves the table as it goes: the wait may be given up halfway.
    while ((r = crt__join_set_wait(cx, map->crt__set.crt__tasks, &m)) == 0) {
        crt__map_remove(map, m);
        crt__crew_drop_result(crt__member_task(m));
    }
    if (r != CRT_EEMPTY) return r;
    crt__map_clear(map);
    return 0;
}
CRTDEF void crt_join_map_detach_all(crt_join_map *map)
{
    crt_join_set_detach_all(&map->crt__set);
    crt__map_clear(map);
}
CRTDEF void crt_join_map_drop(crt_join_map *map)
{
    if (!map) return;
    crt_join_set_drop(&map->crt__set);
    crt__map_clear(map);
}

// --- tracker

CRTDEF crt_task_tracker *crt_task_tracker_new(void) { return (crt_task_tracker *)crt__crew_new(CRT__CREW_TRACKER); }
CRTDEF crt_task_tracker *crt_task_tracker_clone(crt_task_tracker *t)
{
    if (t) crt__crew_ref((crt__crew *)t);
    return t;
}
CRTDEF void crt_task_tracker_drop(crt_task_tracker **t)
{
    crt__crew *c = t ? (crt__crew *)*t : NULL;
    if (!c) return;
    *t = NULL;
    crt__crew_unref(c);
}
CRTDEF int crt__tracker_spawn(crt_runtime *rt, crt_task_tracker *t, crt_join_handle **join, crt_fn fn,
                              const void *frame, size_t size, const char *site)
{
    if (join) *join = NULL;
    return t ? crt__crew_spawn(rt, (crt__crew *)t, 0, join, fn, frame, size, site) : CRT_EINVAL;
}
// Counts tokens, opens and closes: changes the crew under its lock and tells those who
// wait if it is over now.
static bool crt__tracker_change(crt__crew *c, int tokens, uint32_t set, uint32_t clear)
{
    crt__list ready = {NULL, NULL};
    crt__lock(&c->q.lock);
    uint32_t before = c->flags;
    bool nobody = tokens < 0 && !c->count;
    c->flags = (before | set) & ~clear;
    if (tokens > 0) c->count++;
    else if (tokens < 0 && !nobody) c->count--;
    if (crt__crew_over(c)) crt__waitq_grant_all(&c->q, CRT__SLOT_GRANTED_ALL, &ready);
    bool changed = c->flags != before;
    crt__unlock(&c->q.lock);
    crt__submit_list(&ready);
    if (CRT__UNLIKELY(nobody))
        crt__log_to(crt__own_log(), CRT_LOG_ERROR, "crt_task_tracker_leave: nobody is in; each enter has one leave");
    return changed;
}
CRTDEF void crt_task_tracker_enter(crt_task_tracker *t) { crt__tracker_change((crt__crew *)t, 1, 0, 0); }
CRTDEF void crt_task_tracker_leave(crt_task_tracker *t) { crt__tracker_change((crt__crew *)t, -1, 0, 0); }
CRTDEF bool crt_task_tracker_close(crt_task_tracker *t)
{
    return crt__tracker_change((crt__crew *)t, 0, CRT__CREW_CLOSED, 0);
}
CRTDEF bool crt_task_tracker_reopen(crt_task_tracker *t)
{
    return crt__tracker_change((crt__crew *)t, 0, 0, CRT__CREW_CLOSED);
}
CRTDEF bool crt_task_tracker_is_closed(crt_task_tracker *t)
{
    crt__crew *c = (crt__crew *)t;
    crt__lock(&c->q.lock);
    bool closed = (c->flags & CRT__CREW_CLOSED) != 0;
    crt__unlock(&c->q.lock);
    return closed;
}
CRTDEF size_t crt_task_tracker_len(crt_task_tracker *t) { return crt__crew_count((crt__crew *)t); }
CRTDEF crt_poll crt_task_tracker_wait(crt_cx *cx, crt_task_tracker *t)
{
    return t ? crt__crew_wait(cx, (crt__crew *)t) : crt__refuse(cx, CRT_EINVAL);
}

// --- local set

// By address alone: the runtime that the set was used in may be gone.
static bool crt__worker_is_of(const crt__worker *w, const crt_runtime *rt)
{
    uintptr_t at = (uintptr_t)w - (uintptr_t)rt->workers;
    return at < rt->worker_count * sizeof *w && at % sizeof *w == 0;
}
CRTDEF int crt__local_set_spawn(crt_cx *cx, crt_local_set *set, crt_join_handle **join, crt_fn fn,
                                const void *frame, size_t size, const char *site)
{
    crt__worker *none = NULL, *w = cx->worker ? cx->worker : &cx->rt->workers[0];
    if (join) *join = NULL;
    if (!set) return CRT_EINVAL;
    crt__atomic_cas(&set->crt__worker, &none, w, CRT__ACQ_REL, CRT__ACQUIRE);
    w = crt__atomic_load(&set->crt__worker, CRT__ACQUIRE);
    if (!crt__worker_is_of(w, cx->rt)) return CRT_EINVAL;
    crt__spawn_how how = {.fn = fn, .frame = frame, .size = size, .join = join, .crew = &set->crt__tasks};
    how.flags = crt__pin_to(w);
    how.site = site;
    return crt__spawn_task(cx->rt, cx->worker, &how);
}
CRTDEF crt_poll crt_local_set_join(crt_cx *cx, crt_local_set *set)
{
    return set ? crt__crew_wait(cx, &set->crt__tasks) : crt__refuse(cx, CRT_EINVAL);
}
CRTDEF void crt_local_set_abort_all(crt_local_set *set) { crt__crew_abort(&set->crt__tasks); }

// --- task locals

typedef struct crt__ext_local {
    crt__ext ext;
    const crt_task_local *key;
    void *value;
    void (*drop)(void *value);
} crt__ext_local;

CRTDEF void crt__local_enter(crt_cx *cx, crt_local_scope *s, const crt_task_local *key, void *value)
{
    s->outer = cx->locals;
    s->key = key;
    s->value = value;
    cx->locals = s;
}
CRTDEF crt_poll crt__local_leave(crt_cx *cx, crt_poll r)
{
    cx->locals = cx->locals->outer;
    return r;
}
static crt__ext_local *crt__local_find(crt_task *t, const crt_task_local *key)
{
    for (crt__ext *e = t->ext; e; e = e->next)
        if (e->kind == CRT__EXT_LOCAL && ((crt__ext_local *)(void *)e)->key == key) return (crt__ext_local *)(void *)e;
    return NULL;
}
CRTDEF void *crt_task_local_get(const crt_cx *cx, const crt_task_local *key)
{
    for (const crt_local_scope *s = cx->locals; s; s = s->outer)
        if (s->key == key) return s->value;
    crt__ext_local *e = crt__local_find(cx->task, key);
    return e ? e->value : NULL;
}
CRTDEF int crt_task_local_set(crt_cx *cx, const crt_task_local *key, void *value, void (*drop)(void *value))
{
    if (!key) return CRT_EINVAL;
    crt__ext_local *e = crt__local_find(cx->task, key);
    if (!e) {
        e = crt__ext_add(cx->task, CRT__EXT_LOCAL, sizeof *e);
        if (!e) return CRT_ENOMEM;
        e->key = key;
        crt__ext_publish(cx->task, e);
    } else if (e->drop) {
        e->drop(e->value);
    }
    e->value = value;
    e->drop = drop;
    return 0;
}
// The task has ended: its values go.
static void crt__locals_end(crt_task *t)
{
    for (crt__ext *e = t->ext; e; e = e->next) {
        if (e->kind != CRT__EXT_LOCAL) continue;
        crt__ext_local *local = (crt__ext_local *)(void *)e;
        if (local->drop) local->drop(local->value);
        local->drop = NULL;
        local->value = NULL;
    }
}

// ---------------------------------------------------------------------------
// >>sight         metrics, dump
// ---------------------------------------------------------------------------
// Counters are read while workers go on: each is right, together they are of no one moment.
// A walk over all tasks keeps its place by a reference to one of them, and has the lock of
// the slab only for a step.

static uint64_t crt__read(const crt__u64 *counter) { return crt__atomic_load(counter, CRT__RELAXED); }

// Tasks that have not ended. Endings are read first: a task that spawned another
// before it ended is then never counted without its child.
static uint64_t crt__alive(crt_runtime *rt)
{
    uint64_t ended = crt__atomic_load(&rt->remote_completed, CRT__ACQUIRE), begun = 0;
    for (uint32_t i = 0; i < rt->worker_count; i++)
        ended += crt__atomic_load(&rt->workers[i].completed, CRT__ACQUIRE);
    for (uint32_t i = 0; i < rt->worker_count; i++) begun += crt__read(&rt->workers[i].spawned);
    begun += crt__atomic_load(&rt->remote_spawned, CRT__ACQUIRE) / 2;
    return begun > ended ? begun - ended : 0;
}
static uint64_t crt__tally_count(const crt__worker *w, int which)
{
    const crt__tally *tally = &w->tally[which];
    uint64_t n = 0;
    for (int b = 0; tally->buckets && b < crt__scale_of(&w->rt->config, which).buckets; b++)
        n += crt__read(&tally->buckets[b]);
    return n;
}
CRTDEF int crt_metrics_worker(crt_runtime *rt, int i, crt_worker_metrics *m)
{
    if (!rt || !m || i < 0 || (uint32_t)i >= rt->worker_count) return CRT_EINVAL;
    crt__worker *w = &rt->workers[i];
    memset(m, 0, sizeof *m);
    m->park_unpark_count = crt__read(&w->park_unparks);
    m->park_count = (m->park_unpark_count + 1) / 2;
    m->noop_count = crt__read(&w->noops);
    m->steal_count = crt__read(&w->steals);
    m->steal_operations = crt__read(&w->steal_ops);
    m->poll_count = crt__read(&w->polls);
    m->local_schedule_count = crt__read(&w->local_schedules);
    m->overflow_count = crt__read(&w->overflows);
    m->busy_ns = crt__read(&w->busy_ns);
    m->mean_poll_ns = m->poll_count ? m->busy_ns / m->poll_count : 0;
    m->local_queue_depth = w->ring ? crt__ring_length(w->ring) : 0;
    m->thread_id = crt__read(&w->thread_id);
    m->poll_histogram_ns = crt__read(&w->tally[CRT__POLL_TIMES].ns);
    m->poll_histogram_count = crt__tally_count(w, CRT__POLL_TIMES);
    m->schedule_histogram_ns = crt__read(&w->tally[CRT__SCHEDULE_TIMES].ns);
    m->schedule_histogram_count = crt__tally_count(w, CRT__SCHEDULE_TIMES);
    return 0;
}
static int crt__bucket(crt_runtime *rt, int which, int worker, int bucket, crt_histogram_bucket *out)
{
    if (!rt || !out || worker < -1 || (worker >= 0 && (uint32_t)worker >= rt->worker_count)) return CRT_EINVAL;
    crt__scale s = crt__scale_of(&rt->config, which);
    if (!s.kind || bucket < 0 || bucket >= s.buckets) return CRT_EINVAL;
    bool twice = s.kind == CRT_HISTOGRAM_LOG;
    memset(out, 0, sizeof *out);
    if (bucket) out->from = twice ? s.resolution * ((crt_duration)1 << (bucket - 1)) : s.resolution * bucket;
    if (bucket == s.buckets - 1) out->to = CRT_FOREVER;
    else out->to = twice && bucket ? out->from * 2 : out->from + s.resolution;
    for (uint32_t i = 0; i < rt->worker_count; i++)
        if (worker < 0 || (uint32_t)worker == i) out->count += crt__read(&rt->workers[i].tally[which].buckets[bucket]);
    return 0;
}
CRTDEF int crt_metrics_poll_bucket(crt_runtime *rt, int worker, int bucket, crt_histogram_bucket *out)
{
    return crt__bucket(rt, CRT__POLL_TIMES, worker, bucket, out);
}
CRTDEF int crt_metrics_schedule_bucket(crt_runtime *rt, int worker, int bucket, crt_histogram_bucket *out)
{
    return crt__bucket(rt, CRT__SCHEDULE_TIMES, worker, bucket, out);
}
CRTDEF int crt_metrics(crt_runtime *rt, crt_runtime_metrics *m)
{
    if (!rt || !m) return CRT_EINVAL;
    memset(m, 0, sizeof *m);
    m->num_workers = rt->worker_count;
    m->num_blocking_threads = crt__atomic_load(&rt->pool.threads, CRT__RELAXED);
    m->num_idle_blocking_threads = crt__atomic_load(&rt->pool.idle, CRT__RELAXED);
    m->num_alive_tasks = crt__alive(rt);
    m->global_queue_depth = crt__injected(rt);
    m->blocking_queue_depth = crt__inject_length(&rt->pool.queue);
    m->remote_schedule_count = crt__read(&rt->remote_schedules);
    m->io_driver_fd_registered_count = crt__read(&rt->fd_registered);
    m->io_driver_fd_deregistered_count = crt__read(&rt->fd_deregistered);
    m->io_driver_ready_count = crt__read(&rt->io_ready);
    m->bytes_allocated = crt__read(&rt->bytes);
    m->poll_histogram_buckets = rt->config.poll_histogram ? (uint32_t)rt->config.poll_histogram_buckets : 0;
    m->schedule_histogram_buckets = rt->config.schedule_histogram ? (uint32_t)rt->config.schedule_histogram_buckets : 0;
    m->spawned_tasks_count = crt__atomic_load(&rt->remote_spawned, CRT__RELAXED) / 2;
    for (uint32_t i = 0; i < rt->worker_count; i++) {
        crt_worker_metrics w;
        crt_metrics_worker(rt, (int)i, &w);
        m->worker_park_count += w.park_count;
        m->worker_noop_count += w.noop_count;
        m->worker_steal_count += w.steal_count;
        m->worker_steal_operations += w.steal_operations;
        m->worker_poll_count += w.poll_count;
        m->worker_local_schedule_count += w.local_schedule_count;
        m->worker_overflow_count += w.overflow_count;
        m->worker_busy_ns += w.busy_ns;
        m->poll_histogram_count += w.poll_histogram_count;
        m->poll_histogram_ns += w.poll_histogram_ns;
        m->schedule_histogram_count += w.schedule_histogram_count;
        m->schedule_histogram_ns += w.schedule_histogram_ns;
        m->worker_park_unpark_count += w.park_unpark_count;
        m->spawned_tasks_count += crt__read(&rt->workers[i].spawned);
        m->budget_forced_yield_count += crt__read(&rt->workers[i].forced_yields);
    }
    return 0;
}

// --- as text

// To a file, or into memory that may be too small.
typedef struct crt__sink {
    FILE *file;
    char *text;
    size_t size, length;
    bool failed;
} crt__sink;
static void crt__put(crt__sink *o, const char *text)
{
    size_t n = strlen(text);
    if (o->file) {
        if (fwrite(text, 1, n, o->file) != n) o->failed = true;
    } else if (o->length + 1 < o->size) {
        memcpy(o->text + o->length, text, crt__min(n, o->size - 1 - o->length));
    }
    o->length += n;
}
// By hand: small C libraries print neither 64 bits nor fractions. `places` of the
// digits are behind the point: 9 makes seconds of ns.
static void crt__put_number(crt__sink *o, uint64_t n, int places)
{
    char digits[32], *at = digits + sizeof digits;
    *--at = 0;
    for (int i = 0; n || i <= places; i++, n /= 10) {
        if (i && i == places) *--at = '.';
        *--at = (char)('0' + n % 10);
    }
    crt__put(o, at);
}
static void crt__put_head(crt__sink *o, const char *name, const char *type, const char *help)
{
    const char *parts[] = {"# HELP crt_", name, " ", help, "\n# TYPE crt_", name, " ", type, "\n"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) crt__put(o, parts[i]);
}
// Of worker `i`, or with -1 of the runtime.
static void crt__put_labels(crt__sink *o, const char *name, const char *suffix, int i)
{
    crt__put(o, "crt_");
    crt__put(o, name);
    crt__put(o, suffix);
    if (i < 0) return;
    crt__put(o, "{worker=\"");
    crt__put_number(o, (uint64_t)i, 0);
    crt__put(o, "\"");
}
static void crt__put_value(crt__sink *o, const char *end, uint64_t value, int places)
{
    crt__put(o, end);
    crt__put_number(o, value, places);
    crt__put(o, "\n");
}
// One metric: where its value lies in the struct, and how it is shown.
typedef struct crt__series {
    const char *name, *type, *help;
    uint32_t at, bytes;
    int places;
} crt__series;
static uint64_t crt__series_of(const crt__series *s, const void *metrics)
{
    const char *at = (const char *)metrics + s->at;
    uint64_t value = 0;
    uint32_t small = 0;
    if (s->bytes == sizeof small) return memcpy(&small, at, sizeof small), small;
    return memcpy(&value, at, sizeof value), value;
}
#define CRT__SERIES(type, field, kind, name, places, help)                                 \
    {name, kind, help, (uint32_t)offsetof(type, field), (uint32_t)sizeof(((type *)0)->field), places},
#define CRT__OF_RUNTIME(field, kind, name, help) CRT__SERIES(crt_runtime_metrics, field, kind, name, 0, help)
#define CRT__OF_WORKER(field, kind, name, help) CRT__SERIES(crt_worker_metrics, field, kind, name, 0, help)
static const crt__series crt__runtime_series[] = {
    CRT__OF_RUNTIME(num_workers, "gauge", "workers", "Worker threads.")
    CRT__OF_RUNTIME(num_blocking_threads, "gauge", "blocking_threads", "Threads of the blocking pool.")
    CRT__OF_RUNTIME(num_idle_blocking_threads, "gauge", "idle_blocking_threads", "Of these, the idle ones.")
    CRT__OF_RUNTIME(num_alive_tasks, "gauge", "alive_tasks", "Tasks that have not ended.")
    CRT__OF_RUNTIME(global_queue_depth, "gauge", "global_queue_depth", "Tasks in the injection queue.")
    CRT__OF_RUNTIME(blocking_queue_depth, "gauge", "blocking_queue_depth", "Jobs that wait for a blocking thread.")
    CRT__OF_RUNTIME(bytes_allocated, "gauge", "allocated_bytes", "Memory that the runtime has allocated.")
    CRT__OF_RUNTIME(spawned_tasks_count, "counter", "spawned_tasks_total", "Tasks spawned.")
    CRT__OF_RUNTIME(remote_schedule_count, "counter", "remote_schedules_total", "Tasks woken from outside.")
    CRT__OF_RUNTIME(budget_forced_yield_count, "counter", "budget_forced_yields_total",
                    "Yields of tasks whose budget was used up.")
    CRT__OF_RUNTIME(io_driver_fd_registered_count, "counter", "io_driver_fds_registered_total",
                    "Descriptors registered.")
    CRT__OF_RUNTIME(io_driver_fd_deregistered_count, "counter", "io_driver_fds_deregistered_total",
                    "Descriptors deregistered.")
    CRT__OF_RUNTIME(io_driver_ready_count, "counter", "io_driver_ready_total", "Readiness events taken.")
};
static const crt__series crt__worker_series[] = {
    CRT__OF_WORKER(park_count, "counter", "worker_parks_total", "Times the worker parked.")
    CRT__OF_WORKER(park_unpark_count, "counter", "worker_park_unparks_total",
                   "Times it parked and unparked; odd while it is parked.")
    CRT__OF_WORKER(noop_count, "counter", "worker_noops_total", "Times it unparked and found nothing.")
    CRT__OF_WORKER(steal_count, "counter", "worker_steals_total", "Tasks it stole.")
    CRT__OF_WORKER(steal_operations, "counter", "worker_steal_operations_total", "Times it stole.")
    CRT__OF_WORKER(poll_count, "counter", "worker_polls_total", "Tasks it polled.")
    CRT__OF_WORKER(local_schedule_count, "counter", "worker_local_schedules_total", "Tasks it put in its own queue.")
    CRT__OF_WORKER(overflow_count, "counter", "worker_overflows_total", "Times its queue was full.")
    CRT__SERIES(crt_worker_metrics, busy_ns, "counter", "worker_busy_seconds_total", 9, "Time not parked.")
    CRT__SERIES(crt_worker_metrics, mean_poll_ns, "gauge", "worker_mean_poll_seconds", 9, "Mean time of a poll.")
    CRT__OF_WORKER(local_queue_depth, "gauge", "worker_local_queue_depth", "Tasks in its queue.")
};
// Buckets are read once, so that they, +Inf and the count agree while polls go on.
static void crt__put_histogram(crt__sink *o, crt_runtime *rt, int which, const char *name, const char *help)
{
    if (!crt__scale_of(&rt->config, which).kind) return;
    crt__put_head(o, name, "histogram", help);
    for (int i = 0; i < (int)rt->worker_count; i++) {
        uint64_t sum = 0, took = crt__read(&rt->workers[i].tally[which].ns);
        crt_histogram_bucket b;
        for (int k = 0; crt__bucket(rt, which, i, k, &b) == 0; k++) {
            sum += b.count;
            crt__put_labels(o, name, "_bucket", i);
            crt__put(o, ",le=\"");
            if (b.to == CRT_FOREVER) crt__put(o, "+Inf");
            else crt__put_number(o, (uint64_t)b.to, 9);
            crt__put_value(o, "\"} ", sum, 0);
        }
        crt__put_labels(o, name, "_sum", i);
        crt__put_value(o, "} ", took, 9);
        crt__put_labels(o, name, "_count", i);
        crt__put_value(o, "} ", sum, 0);
    }
}
static CRT__COLD void crt__put_metrics(crt__sink *o, crt_runtime *rt)
{
    crt_runtime_metrics m;
    crt_worker_metrics w;
    crt_metrics(rt, &m);
    for (size_t k = 0; k < sizeof crt__runtime_series / sizeof *crt__runtime_series; k++) {
        const crt__series *s = &crt__runtime_series[k];
        crt__put_head(o, s->name, s->type, s->help);
        crt__put_labels(o, s->name, "", -1);
        crt__put_value(o, " ", crt__series_of(s, &m), s->places);
    }
    for (size_t k = 0; k < sizeof crt__worker_series / sizeof *crt__worker_series; k++) {
        const crt__series *s = &crt__worker_series[k];
        crt__put_head(o, s->name, s->type, s->help);
        for (int i = 0; crt_metrics_worker(rt, i, &w) == 0; i++) {
            crt__put_labels(o, s->name, "", i);
            crt__put_value(o, "} ", crt__series_of(s, &w), s->places);
        }
    }
    crt__put_histogram(o, rt, CRT__POLL_TIMES, "worker_poll_time_seconds", "How long polls took.");
    crt__put_histogram(o, rt, CRT__SCHEDULE_TIMES, "worker_schedule_latency_seconds",
                       "How long tasks that could run waited for a poll.");
}
CRTDEF int crt_metrics_prometheus(crt_runtime *rt, FILE *out)
{
    crt__sink o = {out, NULL, 0, 0, false};
    if (!rt || !out) return CRT_EINVAL;
    crt__put_metrics(&o, rt);
    return fflush(out) || o.failed ? -EIO : 0;
}
CRTDEF int crt_metrics_prometheus_text(crt_runtime *rt, char *text, size_t size)
{
    crt__sink o = {NULL, text, size, 0, false};
    if (!rt || (size && !text)) return CRT_EINVAL;
    crt__put_metrics(&o, rt);
    if (size) text[crt__min(o.length, size - 1)] = 0;
    return (int)o.length;
}

// --- tasks

// The next task that has not been freed, with a reference; drops that of `t`.
// Chunks may come and go in between: the reference keeps the place.
static CRT__COLD crt_task *crt__walk(crt_runtime *rt, crt_task *t)
{
    crt_task *found = NULL;
    crt__lock(&rt->slab_lock);
    crt__chunk *chunk = t ? t->home : rt->chunks;
    size_t at = t ? (size_t)((char *)t - (char *)crt__chunk_task(t->home, 0)) : 0;
    uint32_t i = t ? (uint32_t)(at / t->home->stride) + 1 : 0;
    for (; chunk && !found; chunk = chunk->next, i = 0)
        for (; i < crt__atomic_load(&chunk->carved, CRT__ACQUIRE) && !found; i++)
            if (crt__task_try_ref(crt__chunk_task(chunk, i))) found = crt__chunk_task(chunk, i);
    crt__unlock(&rt->slab_lock);
    if (t) crt__task_unref(t, 1);
    return found;
}
// Where none is alive nobody walks: over memory that once held a million tasks that takes long.
// One that is about to be, from outside, has been counted at the gate; one that a worker spawns
// is spawned by a task that is alive, or is seen by that worker, who comes here too.
static CRT__COLD void crt__abort_all(crt_runtime *rt)
{
    crt__atomic_fence(CRT__SEQ_CST);   // `closing` was written before; crt__spawn_task has the other half
    if (!rt->workers || crt__alive(rt) == 0) return;
    for (crt_task *t = crt__walk(rt, NULL); t; t = crt__walk(rt, t))
        if (!crt__is_job(t)) crt_abort((crt_join_handle *)t);
}
static CRT__COLD const char *crt__state_name(crt_runtime *rt, crt_task *t, uint32_t s)
{
    if (crt__sits_idle(s)) return "idle";
    if (s & CRT__OFF) return "running";
    for (uint32_t i = 0; i < rt->worker_count; i++)
        if (crt__atomic_load(&rt->workers[i].running, CRT__RELAXED) == t) return "running";
    return "scheduled";
}
// A task that sits idle cannot begin to run before it is notified: claim it for the
// moment of the look, as if it ran. What it waits for, into text.
static CRT__COLD void crt__dump_parked(crt_runtime *rt, crt_task *t, uint32_t s, char *text, size_t n)
{
    text[0] = 0;
    if (!crt__sits_idle(s) || !crt__atomic_cas(&t->state, &s, s | CRT__ACTIVE, CRT__ACQ_REL, CRT__ACQUIRE)) return;
    const crt__op *op = t->u.slot.op;
    const crt_site *site = crt__atomic_load(&t->site, CRT__RELAXED);
    if (!op && t->groups && t->groups->count == 1) op = t->groups->first->op;   // a crt_timer's
    const char *what = op ? op->name : t->groups ? "select" : "a waker";
    if (site) snprintf(text, n, " at %s:%u in %s, waits for %s", site->file, (unsigned)site->line, site->func, what);
    else snprintf(text, n, ", waits for %s", what);
    s = crt__atomic_sub(&t->state, CRT__ACTIVE, CRT__SEQ_CST);
    if (s & CRT__NOTIFIED) {
        crt__submit(t);
    } else if (CRT__UNLIKELY(crt__atomic_load(&rt->ended, CRT__SEQ_CST))) {
        // A shutdown's end passed by while we had it: then it is ours to end.
        s &= ~(uint32_t)CRT__ACTIVE;
        while (!crt__atomic_cas_weak(&t->state, &s, s | CRT__ACTIVE, CRT__ACQ_REL, CRT__ACQUIRE))
            if (!crt__sits_idle(s)) return;
        crt__end_missed(rt, t);
    }
}
#ifdef CRT_ENABLE_TRACE
// Of a task that the caller holds. False: there was no memory for its record.
static CRT__COLD bool crt__trace_read(crt_task *t, crt_task_metrics *m)
{
    crt__ext_trace *e = crt__ext_find(t, CRT__EXT_TRACE);
    if (!e) return false;
    int64_t now = crt__clock(), last = (int64_t)crt__read(&e->last_wake);
    m->id = t->id;
    m->polls = crt__read(&e->polls);
    m->wakes = crt__read(&e->wakes);
    m->self_wakes = crt__read(&e->self_wakes);
    m->total = now - e->created;
    m->busy = (int64_t)crt__read(&e->busy);
    m->scheduled = (int64_t)crt__read(&e->scheduled);
    m->idle = crt__max(m->total - m->busy - m->scheduled, 0);
    m->since_wake = last ? crt__max(now - last, 0) : CRT_FOREVER;
    m->spawned_at = e->spawned_at;
    return true;
}
static CRT__COLD void crt__dump_trace(crt_task *t, char *text, size_t n)
{
    crt_task_metrics m;
    text[0] = 0;
    if (!crt__trace_read(t, &m)) return;
    snprintf(text, n,
             ", spawned at %.120s, polls " CRT__ID ", wakes " CRT__ID " (self " CRT__ID "), us: busy " CRT__ID
             ", scheduled " CRT__ID ", idle " CRT__ID ", total " CRT__ID,
             m.spawned_at ? m.spawned_at : "crt_block_on", (crt__id)m.polls, (crt__id)m.wakes,
             (crt__id)m.self_wakes, (crt__id)(m.busy / 1000), (crt__id)(m.scheduled / 1000),
             (crt__id)(m.idle / 1000), (crt__id)(m.total / 1000));
}
CRTDEF int crt_metrics_task(crt_runtime *rt, uint64_t id, crt_task_metrics *out)
{
    int e = -ENOENT;
    if (!rt || !out) return CRT_EINVAL;
    memset(out, 0, sizeof *out);
    for (crt_task *t = crt__walk(rt, NULL); t; t = crt__walk(rt, t)) {
        if ((crt__atomic_load(&t->state, CRT__ACQUIRE) & CRT__COMPLETE) || crt__is_job(t) || t->id != id) continue;
        e = crt__trace_read(t, out) ? 0 : CRT_ENOMEM;
    }
    return e;
}
#else
CRTDEF int crt_metrics_task(crt_runtime *rt, uint64_t id, crt_task_metrics *out)
{
    (void)id;
    return rt && out ? -ENOTSUP : CRT_EINVAL;
}
#endif
CRTDEF int crt_dump(crt_runtime *rt, FILE *out)
{
    char parked[400];
#ifdef CRT_ENABLE_TRACE
    char trace[400];
#else
    static const char trace[] = "";
#endif
    int n = 0;
    if (!rt || !out) return CRT_EINVAL;
    for (crt_task *t = crt__walk(rt, NULL); t; t = crt__walk(rt, t)) {
        uint32_t s = crt__atomic_load(&t->state, CRT__ACQUIRE);
        if ((s & CRT__COMPLETE) || crt__is_job(t)) continue;
        const char *name = crt__task_name_of(t), *quote = name ? "\"" : "";
        crt__dump_parked(rt, t, s, parked, sizeof parked);
#ifdef CRT_ENABLE_TRACE
        crt__dump_trace(t, trace, sizeof trace);
#endif
        fprintf(out, "task " CRT__ID "%s%s%s%s %s%s%s%s\n", (crt__id)t->id, name ? " " : "", quote,
                name ? name : "", quote, s & CRT__CANCELLED ? "cancelling, " : "", crt__state_name(rt, t, s), parked,
                trace);
        n++;
    }
    return n;
}

// ---------------------------------------------------------------------------
// >>runtime       building, driving, ending
// ---------------------------------------------------------------------------
// References to a runtime: its own, the user's, each handle, each thread, each
// socket, and, once it is dead, each task that a handle or a waker still knows.

#define CRT__BAD(config, condition, field, why)                                            \
    if (condition) {                                                                       \
        crt__log_to(&(config)->log, CRT_LOG_ERROR, "crt_config.%s: %s", field, why);       \
        return CRT_EINVAL;                                                                 \
    }
// `field` and `part` make the name of the member, `why` says what is wrong with it. CRT_EINVAL.
static CRT__COLD int crt__scale_bad(const crt_config *c, const char *field, const char *part, const char *why)
{
    crt__log_to(&c->log, CRT_LOG_ERROR, "crt_config.%s%s: %s", field, part, why);
    return CRT_EINVAL;
}
static CRT__COLD int crt__scale_check(const crt_config *c, int which, const char *field)
{
    crt__scale s = crt__scale_of(c, which);
    if (s.kind < CRT_HISTOGRAM_OFF || s.kind > CRT_HISTOGRAM_LOG)
        return crt__scale_bad(c, field, "", "must be CRT_HISTOGRAM_OFF, _LINEAR or _LOG");
    if (s.buckets && (s.buckets < 2 || s.buckets > 64))
        return crt__scale_bad(c, field, "_buckets", "must be 0 (default) or 2 to 64");
    if (s.resolution < 0 || s.resolution > CRT_SEC(1))
        return crt__scale_bad(c, field, "_resolution", "must be 0 (default) to CRT_SEC(1)");
    // The last bucket begins at resolution << (buckets - 2).
    crt_duration first = s.resolution ? s.resolution : CRT_US(1);
    if (s.kind == CRT_HISTOGRAM_LOG && s.buckets > 2 && first > INT64_MAX >> (s.buckets - 2))
        return crt__scale_bad(c, field, "_buckets", "the last one begins after the end of time");
    return 0;
}
static void crt__scale_resolve(int kind, int *buckets, crt_duration *resolution)
{
    bool log = kind == CRT_HISTOGRAM_LOG;
    if (kind && !*buckets) *buckets = log ? 27 : 10;
    if (kind && !*resolution) *resolution = log ? CRT_US(1) : CRT_US(100);
}
static CRT__OUTLINE int crt__config_check(const crt_config *c)
{
    CRT__BAD(c, c->flavor != CRT_MULTI_THREAD && c->flavor != CRT_CURRENT_THREAD, "flavor",
             "must be CRT_MULTI_THREAD or CRT_CURRENT_THREAD")
    CRT__BAD(c, !CRT__THREADS && c->flavor != CRT_CURRENT_THREAD, "flavor",
             "a build with CRT_NO_THREADS has only CRT_CURRENT_THREAD")
#ifdef CRT__BARE
    CRT__BAD(c, (c->drivers & (CRT_DRIVER_IO | CRT_DRIVER_SIGNAL)) != 0, "drivers", "there are only timers here")
#endif
    CRT__BAD(c, c->worker_threads < 0 || c->worker_threads > 1024, "worker_threads", "must be 0 (default) to 1024")
    CRT__BAD(c, c->max_blocking_threads < 0, "max_blocking_threads", "must not be negative")
    CRT__BAD(c, c->max_lookups < 0, "max_lookups", "must not be negative")
    CRT__BAD(c, c->thread_keep_alive < 0, "thread_keep_alive", "must not be negative")
    CRT__BAD(c, c->thread_stack_size && c->thread_stack_size < 16384, "thread_stack_size", "must be at least 16384")
    CRT__BAD(c, c->drivers & ~(unsigned)(CRT_DRIVER_ALL | CRT_DRIVER_NONE), "drivers", "has unknown bits")
    CRT__BAD(c, (c->drivers & CRT_DRIVER_NONE) && (c->drivers & CRT_DRIVER_ALL), "drivers",
             "CRT_DRIVER_NONE goes with no other")
    CRT__BAD(c, (c->drivers & CRT_DRIVER_SIGNAL) && !(c->drivers & CRT_DRIVER_IO), "drivers",
             "CRT_DRIVER_SIGNAL needs CRT_DRIVER_IO")
    CRT__BAD(c, c->global_queue_interval < 0, "global_queue_interval", "must not be negative")
    CRT__BAD(c, c->event_interval < 0, "event_interval", "must not be negative")
    CRT__BAD(c, c->max_io_events < 0 || c->max_io_events > 65536, "max_io_events", "must be 0 (default) to 65536")
    CRT__BAD(c, c->unhandled_panic != CRT_PANIC_IGNORE && c->unhandled_panic != CRT_PANIC_SHUTDOWN,
             "unhandled_panic", "must be CRT_PANIC_IGNORE or CRT_PANIC_SHUTDOWN")
    CRT__BAD(c, c->start_paused && c->flavor != CRT_CURRENT_THREAD, "start_paused",
             "the virtual clock needs CRT_CURRENT_THREAD")
    CRT__BAD(c, !c->allocator.alloc_fn != !c->allocator.free_fn, "allocator", "needs both functions or neither")
    CRT__BAD(c, c->start_paused && c->drivers && !(c->drivers & CRT_DRIVER_TIME), "start_paused",
             "needs CRT_DRIVER_TIME")
    int e = crt__scale_check(c, CRT__POLL_TIMES, "poll_histogram");
    return e ? e : crt__scale_check(c, CRT__SCHEDULE_TIMES, "schedule_histogram");
}
// Defaults. 0, or CRT_EINVAL for a bad CRT_WORKER_THREADS.
static CRT__COLD int crt__config_resolve(crt_config *c)
{
    if (c->flavor == CRT_CURRENT_THREAD) c->worker_threads = 1;
    if (CRT__THREADS && !c->worker_threads) {
        const char *text = getenv("CRT_WORKER_THREADS");
        if (text && *text) {
            char *end;
            long n = strtol(text, &end, 10);
            if (*end || n < 1 || n > 1024) {
                crt__log_to(&c->log, CRT_LOG_ERROR,
                            "environment CRT_WORKER_THREADS=%s: crt_config.worker_threads must be 1 to 1024", text);
                return CRT_EINVAL;
            }
            c->worker_threads = (int)n;
        } else {
            c->worker_threads = crt__min(crt__cpu_count(), 1024);
        }
    }
    if (!c->max_blocking_threads) c->max_blocking_threads = 512;
    if (!c->max_lookups) c->max_lookups = crt__min(16, crt__max(c->max_blocking_threads / 2, 1));
    if (!c->thread_keep_alive) c->thread_keep_alive = CRT_SEC(10);
    if (!c->thread_name) c->thread_name = "crt-worker";
#ifdef CRT__BARE
    if (!c->drivers) c->drivers = CRT_DRIVER_TIME;
#endif
    if (!c->drivers) c->drivers = CRT_DRIVER_ALL;
    if (!c->global_queue_interval && c->flavor == CRT_CURRENT_THREAD) c->global_queue_interval = 31;
    if (!c->event_interval) c->event_interval = 61;
    if (!c->max_io_events) c->max_io_events = 1024;
    if (!c->seed) c->seed = (uint64_t)crt__clock() ^ (uint64_t)(uintptr_t)c ^ crt__thread_number() << 32;
    if (!c->log.level) c->log.level = CRT_LOG_WARN;
    crt__scale_resolve(c->poll_histogram, &c->poll_histogram_buckets, &c->poll_histogram_resolution);
    crt__scale_resolve(c->schedule_histogram, &c->schedule_histogram_buckets, &c->schedule_histogram_resolution);
    return 0;
}

// Of a worker, with a cache line between two.
static size_t crt__tally_bytes(const crt_runtime *rt, int which)
{
    return (size_t)crt__scale_of(&rt->config, which).buckets * sizeof(crt__u64) + CRT__CACHE_LINE;
}
static CRT__COLD bool crt__tallies_new(crt_runtime *rt, crt__worker *w)
{
    for (int h = 0; h < CRT__HISTOGRAMS; h++) {
        if (!crt__scale_of(&rt->config, h).kind) continue;
        w->tally[h].buckets = crt__alloc_zero(rt, crt__tally_bytes(rt, h));
        if (!w->tally[h].buckets) return false;
    }
    return true;
}
// Memory, the last of it. Nobody else knows the runtime any more.
static CRT__COLD void crt__rt_free(crt_runtime *rt)
{
    crt_allocator a = rt->config.allocator;
    for (crt__chunk *c = rt->chunks, *after; c; c = after) {
        after = c->next;
        if (c->class_ != CRT__CLASS_STORAGE) crt__free(rt, c, crt__chunk_bytes(c));
    }
    for (uint32_t i = 0; i < 20; i++) crt__free(rt, rt->sock_memory[i], crt__sock_table_bytes(64u << i));
    if (rt->signal_registered) crt__fd_close((crt__fd)rt->signal_registered - 1);
    if (rt->reactor) crt__reactor_free(rt, rt->reactor);
    for (uint32_t i = 0; rt->workers && i < rt->worker_count; i++) {
        crt__free(rt, rt->workers[i].ring, sizeof(crt__ring));
        crt__free(rt, rt->workers[i].inbox, sizeof(crt__inject));
        for (int h = 0; h < CRT__HISTOGRAMS; h++)
            crt__free(rt, rt->workers[i].tally[h].buckets, crt__tally_bytes(rt, h));
    }
    crt__free(rt, rt->workers, rt->worker_count * sizeof *rt->workers);
    crt__free(rt, rt->idle.sleepers, rt->worker_count * sizeof(uint32_t));
    if (a.free_fn) a.free_fn(rt, a.user_data);
    else CRT_FREE(rt);
}
// From now on each task that somebody still has a handle or waker of holds a
// reference, and the runtime none of its own.
static CRT__COLD void crt__rt_bury(crt_runtime *rt)
{
    uint32_t orphans = 0;
    crt__lock(&rt->slab_lock);
    rt->dead = 1;
    for (crt__chunk *c = rt->chunks; c; c = c->next)
        for (uint32_t i = 0; i < c->carved; i++)
            orphans += (crt__chunk_task(c, i)->flags & CRT__TASK_ALLOCATED) != 0;
    crt__atomic_add(&rt->refs, orphans, CRT__RELAXED);
    crt__unlock(&rt->slab_lock);
    crt__atomic_store(&rt->buried, 1, CRT__RELEASE);
    crt__atomic_sub(&rt->refs, 1, CRT__ACQ_REL);
}
// Whoever is about to leave only the runtime's own reference buries it first, while
// its own reference still holds: the count never falls from 2 to 1 before that. Whoever else
// comes by meanwhile finds 3 at least, or buried set: nobody waits for the one who buries, who
// may be what a handler has interrupted.
static void crt__rt_unref(crt_runtime *rt)
{
    uint32_t n = crt__atomic_load(&rt->refs, CRT__ACQUIRE);
    for (;;) {
        if (n == 2 && !crt__atomic_load(&rt->buried, CRT__ACQUIRE)) {
            crt__rt_bury(rt);
            n = crt__atomic_load(&rt->refs, CRT__ACQUIRE);
        } else if (crt__atomic_cas_weak(&rt->refs, &n, n - 1, CRT__ACQ_REL, CRT__ACQUIRE)) {
            break;
        }
    }
    if (n == 1) crt__rt_free(rt);
}

static CRT__COLD int crt__workers_new(crt_runtime *rt)
{
    uint32_t n = rt->worker_count;
    rt->workers = crt__alloc_zero(rt, n * sizeof *rt->workers);
    rt->idle.sleepers = crt__alloc_zero(rt, n * sizeof(uint32_t));
    if (!rt->workers || !rt->idle.sleepers) return CRT_ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        crt__worker *w = &rt->workers[i];
        w->rt = rt;
        w->index = i;
        w->lifo_off = rt->config.disable_lifo_slot;
        w->rng = rt->config.seed + (uint64_t)i * 0x9E3779B97F4A7C15ull;
        if (!w->rng) w->rng = 1;
        w->inject_interval = rt->config.global_queue_interval ? (uint32_t)rt->config.global_queue_interval : 61;
        w->mean_poll = 200000.0 / 61;
        w->wheel.next = UINT64_MAX;
        if (!crt__tallies_new(rt, w)) return CRT_ENOMEM;
        if (!crt__is_multi(rt)) continue;
        w->ring = crt__alloc_zero(rt, sizeof *w->ring);
        w->inbox = crt__alloc(rt, sizeof *w->inbox);
        if (!w->ring || !w->inbox) return CRT_ENOMEM;
        crt__inject_init(w->inbox);
    }
    return 0;
}
static CRT__COLD int crt__workers_start(crt_runtime *rt)
{
    for (uint32_t i = 0; i < rt->worker_count; i++) {
        crt__worker *w = &rt->workers[i];
        crt__atomic_add(&rt->refs, 1, CRT__RELAXED);
        crt__atomic_add(&rt->threads_alive, 1, CRT__RELAXED);
        crt__atomic_add(&rt->threads_running, 1, CRT__RELAXED);
        int e = crt__thread_start(&w->thread, crt__worker_main, w, rt->config.thread_stack_size);
        if (e) {
            char what[48];
            snprintf(what, sizeof what, "worker %u of %u", (unsigned)i + 1, (unsigned)rt->worker_count);
            crt__say_no_thread(rt, what, e);
            crt__atomic_sub(&rt->refs, 1, CRT__RELAXED);
            crt__atomic_sub(&rt->threads_alive, 1, CRT__RELAXED);
            crt__atomic_sub(&rt->threads_running, 1, CRT__RELAXED);
            return e;
        }
        w->has_thread = true;
    }
    return 0;
}

static int crt__runtime_end(crt_runtime *rt, crt_duration timeout);
static CRT__COLD int crt__rt_new(crt_config *c, crt_runtime **out)
{
    int e = crt__config_resolve(c);
    if (e) return e;
    crt_runtime *rt = c->allocator.alloc_fn ? c->allocator.alloc_fn(sizeof *rt, c->allocator.user_data)
                                            : CRT_MALLOC(sizeof *rt);
    if (!rt) return CRT_ENOMEM;
    memset(rt, 0, sizeof *rt);
    rt->bytes = sizeof *rt;
    rt->refs = 2;   // the user's and its own
    rt->config = *c;
    snprintf(rt->thread_name, sizeof rt->thread_name, "%s", c->thread_name);
    rt->config.thread_name = rt->thread_name;
    bool timed = c->schedule_histogram != CRT_HISTOGRAM_OFF;
#ifdef CRT_ENABLE_TRACE
    timed = true;
#endif
    rt->watches_polls = timed || c->poll_histogram || c->on_before_poll || c->on_after_poll;
    bool hooks = c->on_task_spawn || c->on_task_terminate || c->on_before_poll || c->on_after_poll;
    rt->task_flags = timed ? CRT__TASK_TIMED : 0;
    rt->task_extra = timed || hooks ? (uint32_t)sizeof(crt__record) : 0;
    rt->worker_count = (uint32_t)c->worker_threads;
    rt->process = crt__process_number();
    rt->clock_base = crt__clock();
    rt->clock_paused = c->start_paused;
    rt->unfinished = 1;
    crt__inject_init(&rt->inject);
    crt__inject_init(&rt->urgent);
    crt__inject_init(&rt->background);
    crt__inject_init(&rt->pool.queue);
    rt->pool.spin_most = crt__cpu_count() > 1 ? 2000 : 0;   // some 50 us
    crt__idle_init(rt);
    e = crt__workers_new(rt);
    if (!e && (c->drivers & CRT_DRIVER_IO)) rt->reactor = crt__reactor_new(rt, c->max_io_events, &e);
    if (rt->reactor) e = 0;
    if (!e && !crt__is_multi(rt)) rt->workers[0].park = CRT__PARKED_DRIVER;   // nobody drives yet
    if (!e && crt__is_multi(rt)) e = crt__workers_start(rt);
    if (e) {
        crt__say(rt, CRT_LOG_ERROR, "the runtime could not be built: %s", strerror(-e));
        crt__runtime_end(rt, CRT_FOREVER);   // inside a task, too: none of its own has begun
        crt__rt_unref(rt);
        return e;
    }
    *out = rt;
    return 0;
}
CRTDEF int crt_runtime_new(const crt_config *config, crt_runtime **out)
{
    static const crt_config none = {.flavor = CRT__THREADS ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD};
    crt_config c = config ? *config : none;
    if (!out) return CRT_EINVAL;
    *out = NULL;
    int e = crt__config_check(&c);
    return e ? e : crt__rt_new(&c, out);
}
CRTDEF const crt_config *crt_runtime_config(const crt_runtime *rt) { return rt ? &rt->config : NULL; }

// --- driving

// The threads that it counts on are not here: waiting for them would never end, and its
// descriptors are the parent's too.
static CRT__COLD bool crt__is_forked(crt_runtime *rt, const char *what)
{
    if (!rt->process || rt->process == crt__process_number()) return false;
    crt__say(rt, CRT_LOG_ERROR, "%s after fork(): the runtime is the parent's; in the child only exec is safe", what);
    return true;
}
CRTDEF crt_poll crt_block_on(crt_runtime *rt, crt_fn fn, void *frame)
{
    crt_join_handle *join;
    intptr_t result = 0;
    if (!rt || !fn) return CRT_EINVAL;
    if (crt__is_forked(rt, "crt_block_on")) return CRT_ENOCONTEXT;
    if (crt__tls.in_task) {
        crt__say(rt, CRT_LOG_ERROR,
                 "crt_block_on inside a task or a hook would block the worker; await the function, or spawn it");
        return CRT_ENESTED;
    }
    crt__spawn_how how = {.fn = fn, .frame = frame, .flags = CRT__TASK_EXTERNAL | CRT__TASK_ROOT, .join = &join};
    crt__atomic_add(&rt->refs, 1, CRT__RELAXED);   // it may be dropped meanwhile
    int e = crt__spawn_task(rt, NULL, &how);
    if (e) {
        crt__rt_unref(rt);
        return e;
    }
    if (!crt__is_multi(rt)) crt__drive_until(rt, &crt__joined(join)->join);
    e = crt__join_thread(&join, &result);
    if (e == CRT_EPANIC) {
        crt__say(rt, CRT_LOG_ERROR, "the task given to crt_block_on panicked: %s", crt_join_panic_message(join));
        crt_detach(&join);
    }
    crt__rt_unref(rt);
    return e ? e : result;
}
CRTDEF crt_poll crt_handle_block_on(crt_handle *h, crt_fn fn, void *frame)
{
    return crt_block_on((crt_runtime *)h, fn, frame);
}

// Everything that is ready now, in the order in which it would run.
static crt__list crt__all_ready(crt__worker *w)
{
    crt__list all = {NULL, NULL};
    crt_task *t;
    while ((t = crt__inject_pop(&w->rt->urgent))) crt__list_push(&all, t);
    while ((t = crt__list_pop(&w->fifo))) crt__list_push(&all, t);
    while ((t = crt__inject_pop(&w->rt->inject))) crt__list_push(&all, t);
    while ((t = crt__inject_pop(&w->rt->background))) crt__list_push(&all, t);
    return all;
}
// Takes the wake-up out of the reactor, so that the poll descriptor falls silent.
static void crt__reactor_wake_clear(crt_runtime *rt)
{
    crt__driver_enter(rt);
    crt__reactor_wait(rt->reactor, rt, 0);
    crt__driver_leave(rt);
}
CRTDEF int crt_runtime_turn(crt_runtime *rt, crt_duration max_time)
{
    if (!rt || crt__is_multi(rt)) return CRT_EINVAL;
    if (crt__is_forked(rt, "crt_runtime_turn")) return CRT_ENOCONTEXT;
    if (crt__tls.in_task) return CRT_ENESTED;
    if (crt__atomic_load(&rt->ended, CRT__ACQUIRE)) return CRT_ESHUTDOWN;
    if (!crt__drive_try(rt)) return CRT_EBUSY;
    crt__atomic_add(&rt->refs, 1, CRT__RELAXED);   // it may be dropped meanwhile
    crt__worker *w = &rt->workers[0];
    crt__context outer = crt__tls;
    crt_cx cx;
    uint32_t ran = 0;
    crt__atomic_xchg(&w->park, CRT__EMPTY, CRT__SEQ_CST);
    crt__enter(rt, w, &cx);
    if (rt->reactor) crt__reactor_wake_clear(rt);
    crt__drivers_poll(w);
    int64_t begun = crt__clock();
    if (max_time <= 0) {
        crt__list ready = crt__all_ready(w);   // what they wake waits for the next turn
        for (crt_task *t; (t = crt__list_pop(&ready)); ran++) crt__run_here(w, &cx, t);
    } else {
        for (;;) {
            uint32_t n = crt__run_ready(w, &cx, 1);
            ran += n;
            if (crt__clock() - begun >= max_time || crt__stopping(rt)) break;
            if (!n && !w->deferred.head) break;
            if (!n || ran % (uint32_t)rt->config.event_interval == 0) crt__drivers_poll(w);
        }
    }
    if (crt__stopping(rt)) crt__last_round(w, &cx);   // as in crt__drive
    crt__batch_end(w);
    w->cx = NULL;
    crt__tls = outer;
    crt__atomic_store(&w->park, CRT__PARKED_DRIVER, CRT__SEQ_CST);
    if (crt__has_local(w) || w->deferred.head || crt__injected(rt)) crt__unpark(w);
    crt__drive_end(rt);
    crt__rt_unref(rt);
    return (int)ran;
}
CRTDEF intptr_t crt_runtime_poll_fd(crt_runtime *rt)
{
    if (!rt || crt__is_multi(rt)) return CRT_EINVAL;
    if (rt->reactor) return crt__reactor_fd(rt->reactor);
    crt__say(rt, CRT_LOG_ERROR, "crt_runtime_poll_fd needs CRT_DRIVER_IO in crt_config.drivers");
    return CRT_ENODRIVER;
}
static crt_duration crt__until_ready(crt_runtime *rt)
{
    crt__worker *w = &rt->workers[0];
    if (crt__has_local(w) || w->deferred.head || crt__injected(rt)) return 0;
    if (crt__atomic_load(&rt->ended, CRT__ACQUIRE)) return CRT_FOREVER;
    if (w->wheel.fresh) crt__timers_settle(w);   // asked for within a poll: what it has set counts
    crt__wheel_refresh(&w->wheel);
    crt_instant next = crt__wheels_next(rt);
    if (next == CRT_FOREVER) return CRT_FOREVER;
    crt_duration left = next - crt__rt_now(rt);
    return crt__max(left, 0);
}
CRTDEF crt_duration crt_runtime_next_deadline(crt_runtime *rt)
{
    if (!rt || crt__is_multi(rt)) return CRT_EINVAL;
    if (crt__tls.worker == &rt->workers[0]) return crt__until_ready(rt);
    // Its lists are whose turn it is.
    if (!crt__drive_try(rt)) return CRT_FOREVER;
    crt__atomic_add(&rt->refs, 1, CRT__RELAXED);   // it may be dropped meanwhile
    crt_duration left = crt__until_ready(rt);
    crt__drive_end(rt);
    if (crt__atomic_xchg(&rt->refused, 0, CRT__SEQ_CST) && left != CRT_FOREVER) crt__unpark(&rt->workers[0]);
    crt__rt_unref(rt);
    return left;
}

// --- the virtual clock

#define CRT__CLOCK_MOST (INT64_MAX / 2)   // where it stops, so that from there time can go on

static int crt__clock_misused(crt_runtime *rt, const char *what)
{
    if (!rt) return CRT_EINVAL;
    if (!crt__is_multi(rt) && crt__has_time(rt)) return 0;
    crt__say(rt, CRT_LOG_ERROR, "%s needs CRT_CURRENT_THREAD and CRT_DRIVER_TIME", what);
    return CRT_EINVAL;
}
CRTDEF int crt_time_pause(crt_runtime *rt)
{
    int e = crt__clock_misused(rt, "crt_time_pause");
    if (e || crt__atomic_load(&rt->clock_paused, CRT__ACQUIRE)) return e;
    // At a tick, so that a sleep ends when that much has been advanced, and not one millisecond later.
    int64_t now = crt__clock() - rt->clock_base;
    crt__atomic_store(&rt->clock_offset, (now + 999999) / 1000000 * 1000000, CRT__RELEASE);
    crt__atomic_store(&rt->clock_paused, 1, CRT__SEQ_CST);
    crt__unpark(&rt->workers[0]);   // it waits for a time that does not come
    return 0;
}
CRTDEF int crt_time_resume(crt_runtime *rt)
{
    int e = crt__clock_misused(rt, "crt_time_resume");
    if (e || !crt__atomic_load(&rt->clock_paused, CRT__ACQUIRE)) return e;
    crt_instant from = crt__atomic_load(&rt->clock_offset, CRT__ACQUIRE);   // where it stood
    crt__atomic_store(&rt->clock_base, crt__clock() - crt__min(from, CRT__CLOCK_MOST), CRT__RELEASE);
    crt__atomic_store(&rt->clock_paused, 0, CRT__SEQ_CST);
    crt__unpark(&rt->workers[0]);   // it waits without looking at timers
    return 0;
}
// The clock, then the wheels: one that gets its timer later finds the clock where it is now.
static void crt__clock_moved(crt_runtime *rt)
{
    crt__atomic_fence(CRT__SEQ_CST);
    crt__wheels_serve_all(rt);
}
// Never back: another thread may have advanced it meanwhile.
static void crt__clock_to(crt_runtime *rt, crt_instant t)
{
    crt_instant now = crt__atomic_load(&rt->clock_offset, CRT__ACQUIRE);
    while (now < t && !crt__atomic_cas_weak(&rt->clock_offset, &now, t, CRT__ACQ_REL, CRT__ACQUIRE)) {}
    crt__clock_moved(rt);
}
CRTDEF int crt_time_advance(crt_runtime *rt, crt_duration d)
{
    int e = crt__clock_misused(rt, "crt_time_advance");
    if (e) return e;
    if (!crt__atomic_load(&rt->clock_paused, CRT__ACQUIRE) || d < 0) return CRT_EINVAL;
    crt__worker *w = crt__tls.worker;
    if (w && w->rt == rt && w->wheel.fresh) crt__timers_settle(w);   // what this poll has set before
    crt_instant now = crt__atomic_load(&rt->clock_offset, CRT__ACQUIRE);
    crt_instant to;
    do {
        to = crt__instant_after(now, d);
        to = crt__max(now, crt__min(to, CRT__CLOCK_MOST));
    } while (!crt__atomic_cas_weak(&rt->clock_offset, &now, to, CRT__ACQ_REL, CRT__ACQUIRE));
    crt__clock_moved(rt);
    return 0;
}
// Nothing is ready and the clock stands: jump to the next timer. False: wait.
static bool crt__virtual_idle(crt_runtime *rt)
{
    if (!crt__atomic_load(&rt->clock_paused, CRT__ACQUIRE)) return false;
    if (crt__atomic_load(&rt->pool.outstanding, CRT__ACQUIRE)) return false;   // it may wake somebody
    if (crt__driver_enter(rt)) {   // events first
        int n = crt__driver_turn(rt, 0);
        crt__driver_leave(rt);
        if (n) return true;
    }
    // Last, so that what another thread has woken by now runs at the time it was woken.
    if (crt__atomic_load(&rt->workers[0].park, CRT__SEQ_CST) == CRT__NOTIFIED_PARK) return false;
    crt__wheel_refresh(&rt->workers[0].wheel);
    crt_instant next = crt__wheels_next(rt);
    if (next == CRT_FOREVER) return false;
    crt__clock_to(rt, next);
    return true;
}

// --- handles

CRTDEF crt_handle *crt_handle_clone(crt_handle *h)
{
    if (h) crt__atomic_add(&((crt_runtime *)h)->refs, 1, CRT__RELAXED);
    return h;
}
CRTDEF crt_handle *crt_runtime_handle(crt_runtime *rt) { return crt_handle_clone((crt_handle *)rt); }
CRTDEF crt_handle *crt_handle_current(void) { return crt_handle_clone((crt_handle *)crt__tls.rt); }
CRTDEF void crt_handle_drop(crt_handle **h)
{
    crt_runtime *rt = h ? (crt_runtime *)*h : NULL;
    if (!rt) return;
    *h = NULL;
    crt__rt_unref(rt);
}

// --- shutdown
//  1. close: no new tasks, no new jobs.       2. cancel every task.
//  3. workers run until nothing is alive; the calling thread waits, or drives.
//  4. past the deadline: workers stop between two polls; what is left is named,
//     unlinked from what it waits for, completed as cancelled.
//  5. queued jobs are cancelled, pool threads end; running ones have until the
//     deadline and are left to themselves after it.

static CRT__COLD void crt__begin_shutdown(crt_runtime *rt)
{
    crt__atomic_or(&rt->remote_spawned, 1, CRT__SEQ_CST);
    if (crt__atomic_xchg(&rt->closing, 1, CRT__SEQ_CST)) return;
    crt__abort_all(rt);
    if (rt->workers) crt__wake_all(rt);
}
static CRT__COLD void crt__say_left(crt_runtime *rt, crt_task *t, const char *where, const char *more)
{
    const char *name = crt__task_name_of(t), *space = name ? " " : "";
    crt__say(rt, CRT_LOG_WARN, "shutdown: task " CRT__ID "%s%s did not end in time; it %s%s",
             (crt__id)t->id, space, name ? name : "", where, more);
}
static void crt__name_leftover(crt_runtime *rt, crt_task *t)
{
    const crt_site *site = t->flags & CRT__TASK_NO_SITE ? NULL : t->site;
    char place[160] = "ready to run";
    if (site) snprintf(place, sizeof place, "at %s:%u", site->file, (unsigned)site->line);
    crt__say_left(rt, t, "was ", place);
}
static void crt__adopt(crt_task *t)
{
    crt__atomic_or(&t->state, CRT__ACTIVE, CRT__ACQ_REL);
    t->flags |= CRT__TASK_ADOPTED | CRT__TASK_NO_SITE;
}
static void crt__adopt_queue(crt__inject *q)
{
    while (crt__inject_length(q)) {
        crt_task *t = crt__inject_pop(q);
        if (t) crt__adopt(t);
        else crt__cpu_relax();
    }
}
static void crt__adopt_list(crt__list *l)
{
    for (crt_task *t; (t = crt__list_pop(l));) crt__adopt(t);
}
static void crt__adopt_of_worker(crt__worker *w)
{
    crt__adopt_list(&w->fifo);
    crt__adopt_list(&w->deferred);
    if (!w->ring || !w->inbox) return;   // current thread, or never built
    crt__adopt_queue(w->inbox);
    if (w->lifo) crt__adopt(w->lifo);
    w->lifo = NULL;
    for (crt_task *t; (t = crt__ring_pop(w->ring));) crt__adopt(t);
}
static void crt__adopt_shared(crt_runtime *rt)
{
    crt__adopt_queue(&rt->inject);
    crt__adopt_queue(&rt->urgent);
    crt__adopt_queue(&rt->background);
}
// Whether crt__end_leftovers has made it its own. Whoever else may still write to a task's
// flags is a poll OFF its worker, or who pushed it too late (crt__end_all_in), or has a job.
static bool crt__is_adopted(crt_runtime *rt, crt_task *t)
{
    if (crt__is_job(t)) return false;
    crt__lock(&rt->walk_lock);
    uint32_t s = crt__atomic_load(&t->state, CRT__ACQUIRE);
    bool adopted = !(s & (CRT__OFF | CRT__COMPLETE)) && (t->flags & CRT__TASK_ADOPTED);
    crt__unlock(&rt->walk_lock);
    return adopted;
}
// None is freed before all have ended: a group may lie in the frame of one of them.
// And last the tasks of crt_block_on: it returns as soon as its task has ended, and takes the frame with it.
static int crt__end_adopted(crt_runtime *rt)
{
    int n = 0;
    crt__list ended = {NULL, NULL};
    for (uint32_t kind = 0; kind <= CRT__TASK_EXTERNAL; kind += CRT__TASK_EXTERNAL)
        for (crt_task *t = crt__walk(rt, NULL); t; t = crt__walk(rt, t)) {
            if (!crt__is_adopted(rt, t) || (t->flags & CRT__TASK_EXTERNAL) != kind) continue;
            crt__name_leftover(rt, t);
            crt__task_ref(t);
            crt__end_task(t, CRT_UNWIND);
            crt__list_push(&ended, t);
            crt__atomic_add(&rt->remote_completed, 1, CRT__RELEASE);
            n++;
        }
    for (crt_task *t; (t = crt__list_pop(&ended));) crt__task_unref(t, 1);
    return n;
}
// Ends tasks that did not end by themselves; no worker loop runs any more. They are
// adopted first: made ACTIVE, as if they were being polled, so that wakes leave
// them alone. An idle task is taken where it is, a queued one out of its queue. One
// that is neither is on its way into the injection queue, whose pusher will see
// `ended` and end it (crt__end_queued), or is being polled by a thread that has
// given its worker away, or looked at by a dump: who has it will see `ended` too.
static CRT__COLD int crt__end_leftovers(crt_runtime *rt)
{
    int left = 0;
    bool any = false;
    crt__lock(&rt->walk_lock);
    crt__atomic_store(&rt->ended, 1, CRT__SEQ_CST);
    crt__atomic_fence(CRT__SEQ_CST);
    for (crt_task *t = crt__walk(rt, NULL); t; t = crt__walk(rt, t)) {
        if (crt__is_job(t)) continue;
        uint32_t s = crt__atomic_load(&t->state, CRT__ACQUIRE);
        if (!(s & CRT__COMPLETE)) any = true;
        while (crt__sits_idle(s)) {
            if (!crt__atomic_cas_weak(&t->state, &s, s | CRT__ACTIVE, CRT__ACQ_REL, CRT__ACQUIRE)) continue;
            t->flags |= CRT__TASK_ADOPTED;
            break;
        }
    }
    for (uint32_t i = 0; i < rt->worker_count; i++) crt__adopt_of_worker(&rt->workers[i]);
    crt__adopt_shared(rt);
    any = any || crt__alive(rt) != 0;   // let in by the gate, and not there yet: as a rule there is none
    for (crt_task *t = any ? crt__walk(rt, NULL) : NULL; t; t = crt__walk(rt, t)) {   // those that others will end
        uint32_t s = crt__atomic_load(&t->state, CRT__ACQUIRE);
        if (!crt__is_job(t) && !(s & CRT__COMPLETE)) left += (s & CRT__OFF) || !(t->flags & CRT__TASK_ADOPTED);
    }
    crt__unlock(&rt->walk_lock);
    for (uint32_t n; (n = crt__atomic_load(&rt->ending, CRT__ACQUIRE)) != 0;) crt__futex_wait(&rt->ending, n, -1);
    return any ? left + crt__end_adopted(rt) : 0;
}
// A task was pushed after the leftovers were adopted.
static CRT__COLD void crt__end_all_in(crt_runtime *rt, crt__inject *q)
{
    for (crt_task *t; (t = crt__inject_pop(q));) crt__end_missed(rt, t);
}
static CRT__COLD void crt__end_queued(crt_runtime *rt)
{
    crt__end_all_in(rt, &rt->inject);
    crt__end_all_in(rt, &rt->urgent);
    crt__end_all_in(rt, &rt->background);
    for (uint32_t i = 0; i < rt->worker_count; i++)
        if (rt->workers[i].inbox) crt__end_all_in(rt, rt->workers[i].inbox);
}
// Runs once, when the last worker has left its loop, or the driving thread is done. What the tasks leave
// to be dropped is dropped inside the runtime: a shutdown in there is refused, or it would wait for itself.
static CRT__COLD void crt__finish_shutdown(crt_runtime *rt)
{
    crt_runtime *outer = crt__tls.rt;
    crt__tls.rt = rt;
    uint32_t left = (uint32_t)crt__end_leftovers(rt);
    crt__tls.rt = outer;
    crt__sock_shutdown_all(rt);
    crt__process_end_all(rt);
    if (!crt__is_multi(rt) && rt->reactor) crt__reactor_wake(rt->reactor);   // tells a loop over the poll descriptor
    crt__atomic_store(&rt->shutdown_done, 1 + left, CRT__RELEASE);
    crt__atomic_store(&rt->unfinished, 0, CRT__RELEASE);
    crt__futex_wake(&rt->unfinished, INT_MAX);
}
static int64_t crt__left(int64_t deadline)
{
    if (deadline == CRT_FOREVER) return -1;
    int64_t left = deadline - crt__clock();
    return crt__max(left, 0);
}
// Waits until *word is another than `seen`, or somebody wakes. False: the deadline has passed.
static bool crt__wait_change(uint32_t *word, uint32_t seen, int64_t deadline)
{
    int64_t left = crt__left(deadline);
    if (left == 0) return false;
    // Where time stands still (the models) the end of a wait is the end of the time.
    return !crt__futex_wait(word, seen, left) || crt__left(deadline) != left;
}
// Waits until *word is 0 or the deadline has passed; what it is then.
static uint32_t crt__wait_zero(uint32_t *word, int64_t deadline)
{
    uint32_t n;
    while ((n = crt__atomic_load(word, CRT__ACQUIRE)) != 0)
        if (!crt__wait_change(word, n, deadline)) return crt__atomic_load(word, CRT__ACQUIRE);
    return n;
}
static void crt__stop_workers(crt_runtime *rt)
{
    crt__atomic_store(&rt->stop, 1, CRT__SEQ_CST);
    crt__wake_all(rt);
}
// Those that run. The function is all that is known of one: a debugger or addr2line has its name.
static CRT__COLD void crt__name_jobs(crt_runtime *rt)
{
    for (crt_task *t = crt__walk(rt, NULL); t; t = crt__walk(rt, t)) {
        uint32_t s = crt__atomic_load(&t->state, CRT__ACQUIRE);
        if (!crt__is_job(t) || crt__is_takeover(t)) continue;
        if ((s & (CRT__ACTIVE | CRT__CANCELLED | CRT__COMPLETE)) != CRT__ACTIVE) continue;
        intptr_t (*fn)(void *) = ((crt__job *)crt__task_frame(t))->fn;
        crt__say(rt, CRT_LOG_WARN, "shutdown: blocking job " CRT__ID " did not end in time; its function is at 0x%lx%s",
                 (crt__id)t->id, (unsigned long)(uintptr_t)fn, crt__is_call(fn) ? " (a call of crt's own)" : "");
    }
}
// Tasks that cannot be ended yet, since a poll does not return: named where they are.
static CRT__COLD void crt__name_alive(crt_runtime *rt)
{
    char text[32], parked[400];
    for (crt_task *t = crt__walk(rt, NULL); t; t = crt__walk(rt, t)) {
        uint32_t s = crt__atomic_load(&t->state, CRT__ACQUIRE);
        if ((s & CRT__COMPLETE) || crt__is_job(t)) continue;
        const char *state = crt__state_name(rt, t, s);
        crt__dump_parked(rt, t, s, parked, sizeof parked);
        snprintf(text, sizeof text, "is %s", state);
        crt__say_left(rt, t, text, parked);
    }
}
// Tasks, or jobs, that have not ended. The counts of workers and pool come a little later than the joins.
static CRT__COLD int crt__count_left(crt_runtime *rt, bool jobs)
{
    int n = 0;
    for (crt_task *t = crt__walk(rt, NULL); t; t = crt__walk(rt, t)) {
        bool over = (crt__atomic_load(&t->state, CRT__ACQUIRE) & CRT__COMPLETE) != 0;
        if (crt__is_job(t) != jobs || (jobs && crt__is_takeover(t))) continue;
        n += !over && crt__atomic_load(&t->join, CRT__ACQUIRE) != CRT__JOIN_DONE;
    }
    return n;
}
static CRT__COLD int crt__shutdown_pool(crt_runtime *rt, int64_t deadline)
{
    crt__pool *p = &rt->pool;
    crt__atomic_store(&p->stop, 1, CRT__SEQ_CST);
    crt__pool_drain(rt);
    while (crt__pool_wake(p)) continue;
    uint32_t n = crt__wait_zero(&p->alive, deadline), jobs = crt__atomic_load(&p->outstanding, CRT__ACQUIRE);
    crt__lock(&p->exit_lock);
    bool last = p->has_zombie;
    crt__thread zombie = p->zombie;
    p->has_zombie = 0;
    p->abandoned = 1;
    crt__unlock(&p->exit_lock);
    if (last && !n) crt__thread_join(zombie);
    else if (last) crt__thread_detach(zombie);
    if (!jobs) return 0;
    crt__name_jobs(rt);
    return crt__count_left(rt, true);
}
// Time is up. How many tasks have not ended; or, if the last worker has come after all, how many it ends by force.
static CRT__COLD int crt__tasks_left(crt_runtime *rt)
{
    int left = crt__count_left(rt, false);
    if (!crt__atomic_load(&rt->ended, CRT__SEQ_CST)) return left;
    uint32_t n = crt__wait_zero(&rt->unfinished, crt__clock() + CRT_MS(100));
    return n ? left : (int)crt__atomic_load(&rt->shutdown_done, CRT__ACQUIRE) - 1;
}
static CRT__COLD int crt__shutdown_workers(crt_runtime *rt, int64_t deadline, bool background)
{
    uint32_t n = crt__wait_zero(&rt->unfinished, deadline);
    if (n) {   // time is up: they stop after the poll they are in, if that is short
        crt__stop_workers(rt);
        n = crt__wait_zero(&rt->unfinished, crt__clock() + (background ? CRT_MS(2) : CRT_MS(100)));
    }
    if (!n) (void)crt__wait_zero(&rt->threads_running, deadline);   // one may sit in crt_block_in_place
    for (uint32_t i = 0; i < rt->worker_count; i++) {
        crt__worker *w = &rt->workers[i];
        if (w->has_thread && crt__atomic_load(&w->thread_done, CRT__ACQUIRE)) crt__thread_join(w->thread);
        else if (w->has_thread) crt__thread_detach(w->thread);
        w->has_thread = false;
    }
    if (!n) return (int)crt__atomic_load(&rt->shutdown_done, CRT__ACQUIRE) - 1;
    if (background) return crt__tasks_left(rt);
    for (uint32_t i = 0; i < rt->worker_count; i++) {
        crt_task *t = crt__atomic_load(&rt->workers[i].running, CRT__RELAXED);
        if (t) crt__say(rt, CRT_LOG_WARN, "shutdown: worker %u is stuck in a poll that does not return", (unsigned)i);
    }
    crt__name_alive(rt);
    return crt__tasks_left(rt);
}
// Current thread: drives what is left itself. A thread in crt_block_on may be
// driving: its root has been cancelled, so it leaves soon, or at the deadline
// unless it is stuck in a poll.
static CRT__COLD int crt__shutdown_current(crt_runtime *rt, int64_t deadline)
{
    int64_t until = deadline;
    while (!crt__drive_begin(rt)) {
        uint32_t seen = crt__atomic_load(&rt->driving, CRT__ACQUIRE);
        if (!(seen & 1) || crt__wait_change(&rt->driving, seen, until)) continue;
        if (crt__stopping(rt)) {
            crt__say(rt, CRT_LOG_WARN, "shutdown: the driving thread is stuck in a poll that does not return");
            crt__name_alive(rt);
            return crt__tasks_left(rt);
        }
        crt__stop_workers(rt);
        until = crt__clock() + CRT_MS(100);
    }
    if (!crt__atomic_load(&rt->shutdown_done, CRT__ACQUIRE)) {   // or who drove has done it
        crt__drive(rt, NULL, deadline);
        crt__finish_shutdown(rt);
    }
    int left = (int)crt__atomic_load(&rt->shutdown_done, CRT__ACQUIRE) - 1;
    crt__drive_end(rt);
    return left;
}
enum { CRT__SHUTDOWN_GOES_ON = 1, CRT__SHUTDOWN_OVER = 2 };
static CRT__COLD int crt__runtime_end(crt_runtime *rt, crt_duration timeout)
{
    uint32_t no = 0;
    if (!crt__atomic_cas(&rt->shutdown_called, &no, CRT__SHUTDOWN_GOES_ON, CRT__ACQ_REL, CRT__ACQUIRE)) return 0;
    crt__atomic_add(&rt->refs, 1, CRT__RELAXED);   // it may be dropped meanwhile
    int64_t deadline = timeout == CRT_FOREVER ? CRT_FOREVER : crt__instant_after(crt__clock(), timeout);
    int left = 0;
    crt__begin_shutdown(rt);
    if (crt__is_multi(rt)) {
        if (rt->workers && rt->workers[0].has_thread)
            left = crt__shutdown_workers(rt, deadline, timeout == 0);
        else if (rt->workers)
            crt__finish_shutdown(rt);
    } else if (rt->workers) {
        left = crt__shutdown_current(rt, deadline);
    }
    left += crt__shutdown_pool(rt, deadline);
    crt__atomic_store(&rt->shutdown_called, CRT__SHUTDOWN_OVER, CRT__RELEASE);
    crt__futex_wake(&rt->shutdown_called, INT_MAX);
    crt__rt_unref(rt);
    return left;
}
CRTDEF int crt_runtime_shutdown(crt_runtime *rt, crt_duration timeout)
{
    if (!rt || timeout < 0) return CRT_EINVAL;
    if (crt__is_forked(rt, "crt_runtime_shutdown")) return CRT_ENOCONTEXT;
    if (crt__tls.in_task || crt__tls.rt == rt) {   // also a hook, or a blocking job
        crt__say(rt, CRT_LOG_ERROR,
                 "crt_runtime_shutdown and crt_runtime_drop wait, so they are refused inside a task, a hook or a job "
                 "of the runtime: call them from a plain thread, or by crt_spawn_blocking of another runtime");
        return CRT_ENESTED;
    }
    return crt__runtime_end(rt, timeout);
}
CRTDEF void crt_runtime_drop(crt_runtime **rt)
{
    crt_runtime *old = rt ? *rt : NULL;
    if (!old) return;
    int e = crt_runtime_shutdown(old, CRT_FOREVER);
    if (e == CRT_ENESTED) return;
    *rt = NULL;
    if (e == CRT_ENOCONTEXT) return;
    while (crt__atomic_load(&old->shutdown_called, CRT__ACQUIRE) == CRT__SHUTDOWN_GOES_ON)   // in another thread
        crt__futex_wait(&old->shutdown_called, CRT__SHUTDOWN_GOES_ON, -1);
    crt__rt_unref(old);
}

// --- main

static int crt__argc;
static char **crt__argv;
CRTDEF int crt_args(char ***argv)
{
    if (argv) *argv = crt__argv;
    return crt__argc;
}
CRTDEF int crt__main(crt_fn fn, void *frame, int argc, char **argv)
{
    crt_runtime *rt;
    crt__argc = argc;
    crt__argv = argv;
    crt_poll r = crt_runtime_new(NULL, &rt);
    if (r == 0) {
        r = crt_block_on(rt, fn, frame);
        crt_runtime_drop(&rt);
    }
    if (r >= 0) return r > 125 ? 125 : (int)r;
    fprintf(stderr, "%s: %s\n", argc > 0 ? argv[0] : "crt", crt_strerror((int)r));
    return 1;
}

#ifdef _MSC_VER
#pragma warning(pop)
#endif
#endif   // CRT_IMPLEMENTATION

// ---------------------------------------------------------------------------
// >>licence
// ---------------------------------------------------------------------------
// This software is available under two licences; choose whichever you prefer.
//
// ALTERNATIVE A - MIT No Attribution (MIT-0)
// Copyright (c) 2026 the crt authors
// Permission is hereby granted, free of charge, to any person obtaining a copy of
// this software and associated documentation files (the "Software"), to deal in
// the Software without restriction, including without limitation the rights to
// use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of
// the Software, and to permit persons to whom the Software is furnished to do so.
// THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
// IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS
// FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
// COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER
// IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
// CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
//
// ALTERNATIVE B - Public Domain (www.unlicense.org)
// This is free and unencumbered software released into the public domain. Anyone
// is free to copy, modify, publish, use, compile, sell, or distribute this
// software, either in source code form or as a compiled binary, for any purpose,
// commercial or non-commercial, and by any means. In jurisdictions that recognize
// copyright laws, the author or authors of this software dedicate any and all
// copyright interest in the software to the public domain. We make this dedication
// for the benefit of the public at large and to the detriment of our heirs and
// successors. We intend this dedication to be an overt act of relinquishment in
// perpetuity of all present and future rights to this software under copyright
// law. THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, AS ABOVE.
//
// ---------------------------------------------------------------------------
// >>changelog
// ---------------------------------------------------------------------------
// 0.1.0  the core: coroutines, tasks, both schedulers, epoll, kqueue, IOCP, timers, blocking
//        pool, signals, TCP; files and directories; child processes.
//        The toolkit: notify, semaphore, mutex, rwlock, barrier, once cell, cancel
//        token; oneshot, mpsc, broadcast, watch; scopes, join sets
//        and maps, trackers, local sets, task locals; delay queue. Histograms of poll times
//        and schedule latency, Prometheus text, CRT_ENABLE_TRACE.
