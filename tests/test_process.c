// Child processes: what they get, how they end, and that nothing is left of them whatever
// is cancelled, dropped or shut down: no zombie, no descriptor. All of it twice: with
// pidfds, and without, by SIGCHLD. A child that looks around is this program itself.
// On Windows it is the shell too, and what is left of a child is a handle.
#include <stdlib.h>
static void *failing_malloc(size_t n);
#define CRT_MALLOC(n) failing_malloc(n)
static void counting_free(void *p);
#define CRT_FREE(p) counting_free(p)
#ifndef _WIN32
#define CRT_PLATFORM_HEADER "no_pidfd_platform.h"
#include <signal.h>
#include <sys/types.h>
static int slow_kill(pid_t pid, int sig);
#define kill slow_kill
#endif
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#include "by_hand.h"
#undef kill
#ifndef _WIN32
// Whoever waits may hear of the end before crt goes on.
static int kill_takes_us;
static int slow_kill(pid_t pid, int sig)
{
    int r = kill(pid, sig);
    if (kill_takes_us) test_pause_us(kill_takes_us);
    return r;
}
#else
static int kill_takes_us;   // it does by itself
#endif

#ifdef _WIN32
#include "win_shim/win_files.h"
#include "win_shim/win_sh.h"
static int no_pidfd;   // there is something else, always
enum { MAY_LINGER = 1, CANCEL_STEP = 3, CLOSINGS = 20 };   // a child takes longer
#else
#include <dirent.h>
#include <sys/resource.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
enum { MAY_LINGER = 0, CANCEL_STEP = 1, CLOSINGS = 20 };
#endif

static int malloc_left = -1;   // atomic: how many succeed before one fails; -1: all
static int malloc_stays;       // atomic: all that follow fail too
static int malloc_live;        // atomic: how many have not been freed
static void (*malloc_meanwhile)(void);   // atomic: called once, in the next one
static void *failing_malloc(size_t n)
{
    void (*meanwhile)(void) = __atomic_exchange_n(&malloc_meanwhile, NULL, __ATOMIC_RELAXED);
    if (meanwhile) meanwhile();
    int left = __atomic_load_n(&malloc_left, __ATOMIC_RELAXED);
    if (left == 0 && __atomic_load_n(&malloc_stays, __ATOMIC_RELAXED)) return NULL;
    if (left >= 0 && __atomic_fetch_sub(&malloc_left, 1, __ATOMIC_RELAXED) <= 0) return NULL;
    void *p = malloc(n);
    if (p) __atomic_fetch_add(&malloc_live, 1, __ATOMIC_RELAXED);
    return p;
}
static void counting_free(void *p)
{
    if (p) __atomic_fetch_sub(&malloc_live, 1, __ATOMIC_RELAXED);
    free(p);
}
static void fail_after(int n) { __atomic_store_n(&malloc_left, n, __ATOMIC_RELAXED); }
static void fail_from(int n)
{
    __atomic_store_n(&malloc_stays, n >= 0, __ATOMIC_RELAXED);
    fail_after(n);
}

static const char *self_path = "/proc/self/exe";
static int open_descriptors(void)
{
#ifdef KQUEUE_SHIM_SYS_EVENT_H   // has some where a kqueue has none; they come and go with a thread of the runtime's
    for (;;) {
        int before = kqueue_shim_descriptors(), n = test_fd_count();
        if (kqueue_shim_descriptors() == before) return n - before;
    }
#else
    return test_fd_count();
#endif
}
// Any child at all, a zombie too?
static bool has_children(void)
{
#ifdef _WIN32
    return test_child_is_held() || test_child_lives();
#else
    siginfo_t info;
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
#endif
}
// Outside of tasks: what nobody waits for is reaped by the reactor, which somebody drives.
static bool no_children_soon(crt_runtime *rt)
{
    for (int i = 0; i < 5000 && has_children(); i++) {
        if (rt) crt_runtime_turn(rt, 0);
        test_pause_us(1000);
    }
    return !has_children();
}

// --- the child: says what it sees

static int child_main(const char *what)
{
#ifdef _WIN32
    if (!strcmp(what, "fds")) {
        printf("%d", test_inherited_count());
    } else if (!strcmp(what, "env")) {
        char *all = GetEnvironmentStringsA();
        for (char *e = all; *e; e += strlen(e) + 1) printf("%s,", e);
    }
#else
    if (!strcmp(what, "fds")) {
        for (int fd = 0; fd < 1024; fd++)
            if (fcntl(fd, F_GETFD) >= 0) printf("%d ", fd);
    } else if (!strcmp(what, "signals")) {
        sigset_t mask;
        sigprocmask(SIG_SETMASK, NULL, &mask);
        for (int sig = 1; sig < 65; sig++) {
            struct sigaction act;
            if (sigismember(&mask, sig) == 1) printf("blocked %d ", sig);
            if (!sigaction(sig, NULL, &act) && act.sa_handler == SIG_IGN) printf("ignored %d ", sig);
        }
        printf("ok");
    } else if (!strcmp(what, "ids")) {
        printf("%d %d %d", (int)getuid(), (int)getgid(), getgroups(0, NULL));
    } else if (!strcmp(what, "group")) {
        printf("%d %d %d", (int)getpid(), (int)getpgrp(), (int)getsid(0));
    }
#endif
    fflush(stdout);
    return 0;
}

typedef struct task {
    crt_frame co;
    crt_process *p, *q;
    crt_process_desc desc;
    crt_exit_status status;
    crt_output o;
    crt_stream *in, *out, *err;
    crt_timer timer;
    CRT_SELECT(2) sel;
    crt_join_handle *join;
    intptr_t result;
    const char *argv[8], *env[6];
    char buf[300], got[200], path[300], dir[100];
    void *data;
    int i, fd, pid, pipe[2];
    crt_process_fd more[2];
    crt_file *f;
    crt_poll r, x, y, w;
} task;
static void run(crt_runtime *rt, crt_fn fn)
{
    task *frame = calloc(1, sizeof *frame);
    int before = open_descriptors();
    CHECK_EQ(crt_block_on(rt, fn, frame), 0);
    CHECK(no_children_soon(rt));
    // On Windows a request on a pipe that was closed ends when the reactor is told so: by us, or by a worker.
    for (int i = 0; MAY_LINGER && i < 1000 && open_descriptors() > before; i++)
        if (crt_runtime_turn(rt, CRT_MS(1)) < 0) test_pause_us(1000);
    // The first use of SIGCHLD by a runtime makes descriptors that stay.
    if (!no_pidfd) CHECK_EQ(open_descriptors(), before);
    free(frame);
}
static const crt_process_desc *sh(task *self, const char *script)
{
#ifdef _WIN32
    self->argv[0] = self_path;
    self->argv[1] = "child";
    self->argv[2] = "sh";
    self->argv[3] = script;
    self->argv[4] = NULL;
#else
    self->argv[0] = "sh";
    self->argv[1] = "-c";
    self->argv[2] = script;
    self->argv[3] = NULL;
#endif
    self->desc.argv = self->argv;
    return &self->desc;
}
static const crt_process_desc *me(task *self, const char *what)
{
    self->argv[0] = self_path;
    self->argv[1] = "child";
    self->argv[2] = what;
    self->argv[3] = NULL;
    self->desc.argv = self->argv;
    return &self->desc;
}
static bool said(const task *self, const char *text)
{
    bool same = self->o.out && self->o.out_n == strlen(text) && !memcmp(self->o.out, text, self->o.out_n);
    if (!same) fprintf(stderr, "said \"%s\", not \"%s\"\n", self->o.out ? (char *)self->o.out : "", text);
    return same;
}
static void fresh(task *self)
{
    crt_output_free(&self->o);
    memset(&self->o, 0, sizeof self->o);
    memset(&self->desc, 0, sizeof self->desc);
}

// --- how they end

static crt_poll ends_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exit 7"), &self->p));
    CHECK(self->r == 0 && self->p && crt_process_id(self->p) > 0);
    for (self->i = 0; self->i < 2; self->i++) {   // as often as one likes
        CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
        CHECK(self->r == 0 && self->status.code == 7 && !self->status.signal && !crt_exit_ok(&self->status));
    }
    CHECK_EQ(crt_process_try_wait(self->p, &self->status), 1);
    CHECK_EQ(crt_process_id(self->p), 0);
    CHECK_EQ(crt_process_kill(self->p), -ESRCH);
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, NULL));
    CHECK_EQ(self->r, 0);
    crt_close(&self->p);
    CHECK(!self->p);
    crt_close(&self->p);
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exit 0"), &self->p));
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CHECK(self->r == 0 && crt_exit_ok(&self->status));
    crt_close(&self->p);
    // By a signal; stopped, where there is such a thing, is not ended.
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exec sleep 1000"), &self->p));
    CHECK_EQ(crt_process_try_wait(self->p, &self->status), 0);
#ifdef _WIN32
    CHECK_EQ(crt_process_signal(self->p, 19), -EINVAL);
#else
    CHECK_EQ(crt_process_signal(self->p, SIGSTOP), 0);
#endif
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_process_wait(cx, self->p, &self->status)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(crt_process_signal(self->p, 999), -EINVAL);
    CHECK_EQ(crt_process_signal_group(self->p, SIGTERM), CRT_EINVAL);   // it has none of its own
    CHECK_EQ(crt_process_signal(self->p, SIGTERM), 0);
#ifndef _WIN32
    CHECK_EQ(crt_process_signal(self->p, SIGCONT), 0);
#endif
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CHECK(self->r == 0 && self->status.signal == SIGTERM && self->status.code == -1 && !crt_exit_ok(&self->status));
    crt_close(&self->p);
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exec sleep 1000"), &self->p));
    CHECK_EQ(crt_process_kill(self->p), 0);
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CHECK(self->r == 0 && self->status.signal == SIGKILL);
    crt_close(&self->p);
    // Its stdin closes when it is waited for.
    self->desc.in.kind = CRT_STDIO_PIPE;
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "read line; exit 3"), &self->p));
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CHECK(self->r == 0 && self->status.code == 3);
    CHECK(!crt_process_take_stdin(self->p));
    crt_close(&self->p);
#ifndef _WIN32
    // Somebody else takes the status.
    self->desc.in.kind = CRT_STDIO_NULL;
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exit 0"), &self->p));
    CHECK_EQ(waitpid(crt_process_id(self->p), NULL, 0), crt_process_id(self->p));
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CHECK_EQ(self->r, -ECHILD);
    CHECK_EQ(crt_process_try_wait(self->p, &self->status), -ECHILD);
    crt_close(&self->p);
#endif
    CRT_AWAIT(self->r = crt_process_wait(cx, NULL, &self->status));
    CHECK_EQ(self->r, CRT_EINVAL);
    CHECK_EQ(crt_process_kill(NULL), CRT_EINVAL);
    CHECK(!crt_process_take_stdout(NULL));
    CRT_END;
}
static void ways_to_end(crt_runtime *rt) { run(rt, ends_run); }

static crt_poll waiter_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CRT_RETURN(self->r ? self->r : self->status.code);
    CRT_END;
}
// Under the lock: whoever waits has done what it does before it parks.
static bool somebody_waits(crt__sock *s)
{
    crt__sock_lock(s);
    bool waits = s->waiters != NULL;
    crt__sock_unlock(s);
    return waits;
}
static crt_poll waiters_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    // Two wait for one.
    self->desc.in.kind = CRT_STDIO_PIPE;
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "read line; exit 5"), &self->p));
    self->in = crt_process_take_stdin(self->p);
    CHECK(self->in && !crt_process_take_stdin(self->p));
    CHECK_EQ(crt_spawn_join(cx, &self->join, waiter_run, &(task){.p = self->p}), 0);
    CRT_YIELD();
    crt_close(&self->in);
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CHECK(self->r == 0 && self->status.code == 5);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK(self->r == 0 && self->result == 5);
    crt_close(&self->p);
    // Closed under a task that waits: it is told so, not of the end that follows, even if it hears of that first.
    self->desc.kill_on_drop = true;
    kill_takes_us = 10000;
    for (self->i = 0; self->i < CLOSINGS; self->i++) {
        CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exec sleep 1000"), &self->p));
        CHECK_EQ(crt_spawn_join(cx, &self->join, waiter_run, &(task){.p = self->p}), 0);
        while (!somebody_waits(self->p->sock)) CRT_YIELD();
        crt_close(&self->p);
        CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(self->result, CRT_ECLOSED);
    }
    kill_takes_us = 0;
    CRT_END;
}
static void several_wait(crt_runtime *rt) { run(rt, waiters_run); }

// A task of another runtime waits, and whatever happens first: it hears of it, and nothing is left.
static crt_process *lent;
static crt_poll lend_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exec sleep 1000"), &lent));
    CRT_RETURN(self->r);
    CRT_END;
}
static void waited_for_from_another_runtime(void)
{
    enum { KILLED, CLOSED, DROPPED, DROPPED_CLOSED, POINTER_GONE, WAYS };
    for (int way = 0; way < WAYS; way++) {
        crt_runtime *a, *b;
        crt_join_handle *join;
        crt_process *p;
        intptr_t result = 0, want = CRT_ECLOSED;
        task *frame = calloc(1, sizeof *frame);
        CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &a), 0);
        CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &b), 0);
        frame->desc.kill_on_drop = way == CLOSED || way == DROPPED_CLOSED;
        CHECK_EQ(crt_block_on(a, lend_run, frame), 0);
        crt_handle *h = crt_runtime_handle(b);
        CHECK_EQ(crt_handle_spawn_join(h, &join, waiter_run, &(task){.p = lent}), 0);
        CHECK_EQ(crt_runtime_turn(b, 0), 1);
        CHECK(!crt_is_finished(join) && somebody_waits(lent->sock));
        if (way == DROPPED || way == DROPPED_CLOSED) crt_runtime_drop(&a);
        p = lent;
        if (frame->desc.kill_on_drop) {
            crt_close(&lent);
        } else if (way == DROPPED) {
            want = CRT_ESHUTDOWN;
        } else {
            // With NULL in its place it waits on for the child that it began to wait for.
            if (way == POINTER_GONE) ((task *)(void *)crt__task_frame(crt__joined(join)))->p = NULL;
            want = -1;   // by a signal
            CHECK_EQ(crt_process_kill(lent), 0);
        }
        for (int i = 0; i < 5000 && !crt_is_finished(join); i++) {
            if (a) crt_runtime_turn(a, 0);
            crt_runtime_turn(b, 0);
            if (!crt_is_finished(join)) test_pause_us(1000);
        }
        CHECK(crt_is_finished(join));
        CHECK_EQ(crt_join_blocking(&join, &result), 0);
        CHECK_EQ(result, want);
        if (way == DROPPED) {
            CHECK_EQ(crt_process_kill(p), 0);
            while (crt_process_try_wait(p, NULL) == 0) test_pause_us(100);
        }
        crt_close(&lent);
        crt_handle_drop(&h);
        for (int i = 0; i < 5000 && has_children() && a; i++) {
            crt_runtime_turn(a, 0);
            test_pause_us(1000);
        }
        crt_runtime_drop(&a);
        crt_runtime_drop(&b);
        CHECK(no_children_soon(NULL));
        free(frame);
    }
}

// --- what they get

#ifdef WINE   // a turn through cat takes 10 ms there
enum { PIECES = 400 };
#else
enum { PIECES = 2000 };
#endif
static crt_poll stdio_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    // Pipes, all three.
    self->desc.in.kind = self->desc.out.kind = self->desc.err.kind = CRT_STDIO_PIPE;
    CRT_AWAIT(self->r = crt_process_spawn(cx,
        sh(self, "cat /dev/stdin; echo oops >&2; test -p /dev/stdin && test -p /dev/stdout || exit 9"), &self->p));
    CHECK_EQ(self->r, 0);
    self->in = crt_process_take_stdin(self->p);
    self->out = crt_process_take_stdout(self->p);
    self->err = crt_process_take_stderr(self->p);
    CHECK(self->in && self->out && self->err);
    CRT_AWAIT(self->r = crt_write_all(cx, self->in, "hello", 5));
    CHECK_EQ(self->r, 5);
    CRT_AWAIT(self->r = crt_read_exact(cx, self->out, self->buf, 5));
    CHECK(self->r == 5 && !memcmp(self->buf, "hello", 5));
    crt_close(&self->in);
    CRT_AWAIT(self->r = crt_read(cx, self->out, self->buf, 5));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_read(cx, self->err, self->buf, sizeof self->buf));
    CHECK(self->r == 5 && !memcmp(self->buf, "oops\n", 5));
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CHECK(self->r == 0 && self->status.code == 0);
    crt_close(&self->out);
    crt_close(&self->err);
    crt_close(&self->p);
    // A child that does not read: an error, not SIGPIPE.
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exit 0"), &self->p));
    self->in = crt_process_take_stdin(self->p);
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CRT_AWAIT(self->r = crt_write_all(cx, self->in, "hello", 5));
    CHECK_EQ(self->r, -EPIPE);
    crt_close(&self->in);
    crt_close(&self->p);
    // More than a pipe holds, both ways at once.
    self->desc.err.kind = CRT_STDIO_INHERIT;
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exec cat"), &self->p));
    self->in = crt_process_take_stdin(self->p);
    self->out = crt_process_take_stdout(self->p);
    for (self->i = 0; self->i < PIECES; self->i++) {
        memset(self->buf, self->i, 200);
        CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
            crt_on(cx, 0, self->x = crt_write_all(cx, self->in, self->buf, 200)),
            crt_on_if(cx, 1, self->i >= 200, self->y = crt_read_exact(cx, self->out, self->got, 200))));
        CHECK(self->r == 0 && self->x == 200);
        if (self->i >= 200)
            CHECK(self->y == 200 && self->got[0] == (char)(self->i - 200) && self->got[199] == self->got[0]);
    }
    crt_close(&self->in);
    crt_close(&self->out);
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, NULL));
    crt_close(&self->p);
    // A descriptor, shared by both outputs.
    CRT_AWAIT(self->r = crt_fs_temp_file(cx, NULL, &self->f, NULL));
    CHECK_EQ(self->r, 0);
    self->desc.in.kind = CRT_STDIO_NULL;
    self->desc.out = (crt_stdio){.kind = CRT_STDIO_FD, .fd = crt_file_fd(self->f)};
    self->desc.err.kind = CRT_STDIO_STDOUT;
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "cat; echo one; echo two >&2"), &self->p));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CRT_AWAIT(self->r = crt_file_pread(cx, self->f, self->buf, 100, 0));
    CHECK(self->r == 8 && !memcmp(self->buf, "one\ntwo\n", 8));
    crt_close(&self->p);
    crt_close(&self->f);
    // A descriptor that is not open.
#ifdef _WIN32   // that one's number may be in use again
    self->desc.out.fd = 0x7ffff0;
#endif
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exit 0"), &self->p));
    CHECK(self->r == -EBADF && !self->p);
    self->desc.out.fd = -1;
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exit 0"), &self->p));
    CHECK(self->r == -EBADF && !self->p);
    // One child's output is the next one's input; it is in blocking mode again.
    self->desc.out = (crt_stdio){.kind = CRT_STDIO_PIPE};
    self->desc.err = (crt_stdio){0};
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "sleep 0.02; echo b; echo a"), &self->p));
    CHECK_EQ(self->r, 0);
    self->out = crt_process_take_stdout(self->p);
    self->in = crt_stream_clone(self->out);
    self->desc.in = (crt_stdio){.kind = CRT_STDIO_STREAM, .stream = &self->out};
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exec sort"), &self->q));
    CHECK(self->r == CRT_EBUSY && self->out);   // has a clone
    crt_close(&self->in);
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exec sort"), &self->q));
    CHECK(self->r == 0 && !self->out);
    self->out = crt_process_take_stdout(self->q);
    CRT_AWAIT(self->r = crt_read_exact(cx, self->out, self->buf, 4));
    CHECK(self->r == 4 && !memcmp(self->buf, "a\nb\n", 4));
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CHECK(crt_exit_ok(&self->status));
    CRT_AWAIT(self->r = crt_process_wait(cx, self->q, &self->status));
    CHECK(crt_exit_ok(&self->status));
    crt_close(&self->out);
    crt_close(&self->p);
    crt_close(&self->q);
    CRT_END;
}
static void standard_descriptors(crt_runtime *rt) { run(rt, stdio_run); }

#ifdef _WIN32
static crt_poll gets_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    self->i = test_inherited_count();
    // Nothing that this process happens to have open: two pipes, and NUL, which is not counted.
    self->data = CreateFileA(self_path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    CHECK(SetHandleInformation(self->data, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT));
    CHECK_EQ(test_inherited_count(), self->i + 1);
    CRT_AWAIT(self->r = crt_process_output(cx, me(self, "fds"), &self->o));
    CHECK(self->r == 0 && crt_exit_ok(&self->o.status) && said(self, "2"));
    CloseHandle(self->data);
    fresh(self);
    // What there is not.
    self->desc.set_uid = true;
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "exit 0"), &self->o));
    CHECK_EQ(self->r, -ENOTSUP);
    fresh(self);
    self->desc.fds = self->more;
    self->desc.fd_count = 1;
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "exit 0"), &self->o));
    CHECK_EQ(self->r, -ENOTSUP);
    fresh(self);
    // Environment: names of either case are one.
    SetEnvironmentVariableA("CRT_TEST_A", "a");
    SetEnvironmentVariableA("CRT_TEST_B", "b");
    self->env[0] = "CRT_TEST_A=first";
    self->env[1] = "crt_test_b";
    self->env[2] = "CRT_TEST_C=c=c";
    self->env[3] = "Crt_Test_A=other";
    self->env[4] = NULL;
    self->desc.env = self->env;
    CRT_AWAIT(self->r = crt_process_output(cx,
        sh(self, "echo $CRT_TEST_A,$CRT_TEST_B,$CRT_TEST_C,${PATH:+path}"), &self->o));
    CHECK(self->r == 0 && said(self, "other,,c=c,path\n"));
    fresh(self);
    self->desc.env = self->env;
    self->desc.env_clear = true;
    CRT_AWAIT(self->r = crt_process_output(cx, me(self, "env"), &self->o));
    CHECK(self->r == 0 && self->o.out && strstr(self->o.out, "CRT_TEST_C=c=c,"));
    CHECK(self->o.out && strstr(self->o.out, "Crt_Test_A=other,"));
    CHECK(self->o.out && !strstr(self->o.out, "CRT_TEST_A=") && !strstr(self->o.out, "TEST_B"));
    fresh(self);
    // PATH: the child's counts.
    snprintf(self->path, sizeof self->path, "PATH=C:\\nowhere;%s", self_path);
    *strrchr(self->path, '\\') = 0;
    self->env[0] = self->path;
    self->env[1] = NULL;
    for (self->i = 0; self->i < 3; self->i++) {   // its directory; another; its path, whatever PATH is
        if (self->i == 1) self->env[0] = "PATH=C:\\nowhere";
        self->desc.env = self->env;
        (void)sh(self, "echo found");
        snprintf(self->buf, sizeof self->buf, "%s", strrchr(self_path, '\\') + 1);
        *strrchr(self->buf, '.') = 0;   // .exe
        self->argv[0] = self->buf;
        if (self->i == 2) self->desc.program = self_path;
        CRT_AWAIT(self->r = crt_process_output(cx, &self->desc, &self->o));
        if (self->i == 1) CHECK_EQ(self->r, -ENOENT);
        else CHECK(self->r == 0 && said(self, "found\n"));
        fresh(self);
    }
    self->desc.program = self_path;
    self->desc.dir = "C:/windows";
    (void)sh(self, "echo $0; pwd");
    self->argv[0] = "zero";
    CRT_AWAIT(self->r = crt_process_output(cx, &self->desc, &self->o));
    CHECK(self->r == 0 && said(self, "zero\nC:\\windows\n"));
    fresh(self);
    // A group is a job: its child's child too.
    self->desc.group = CRT_PROCESS_NEW_GROUP;
    self->desc.out.kind = CRT_STDIO_PIPE;
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "sleep 1000 & echo; wait"), &self->p));
    self->out = crt_process_take_stdout(self->p);
    CRT_AWAIT(self->r = crt_read(cx, self->out, self->buf, 9));
    CHECK_EQ(self->r, 1);
    CHECK_EQ(crt_process_signal_group(self->p, SIGKILL), 0);
    CRT_AWAIT(self->r = crt_read(cx, self->out, self->buf, 9));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CHECK_EQ(self->status.signal, SIGKILL);
    crt_close(&self->out);
    crt_close(&self->p);
    CRT_FINALLY
        fresh(self);
    CRT_END;
}
#else
static crt_poll gets_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    // Nothing that this process happens to have open.
    self->fd = open("/dev/null", O_RDONLY);   // not close-on-exec
    CHECK(self->fd > 2);
    CRT_AWAIT(self->r = crt_process_output(cx, me(self, "fds"), &self->o));
    CHECK(self->r == 0 && crt_exit_ok(&self->o.status) && said(self, "0 1 2 "));
    fresh(self);
    self->more[0] = (crt_process_fd){.fd = self->fd, .as = 7};
    self->more[1] = (crt_process_fd){.fd = self->fd, .as = self->fd};
    self->desc.fds = self->more;
    self->desc.fd_count = 2;
    snprintf(self->path, sizeof self->path, self->fd < 7 ? "0 1 2 %d 7 " : "0 1 2 7 %d ", self->fd);
    CRT_AWAIT(self->r = crt_process_output(cx, me(self, "fds"), &self->o));
    CHECK(self->r == 0 && (self->fd == 7 || said(self, self->path)));
    fresh(self);
    self->more[0].as = 300;
    self->desc.fds = self->more;
    self->desc.fd_count = 1;
    CRT_AWAIT(self->r = crt_process_output(cx, me(self, "fds"), &self->o));
    CHECK_EQ(self->r, CRT_EINVAL);
    close(self->fd);
    fresh(self);
    // Numbers that cross: 3 is 4, 4 is 3.
    if (test_pipe(self->pipe)) CRT_RETURN(-errno);
    self->more[0] = (crt_process_fd){.fd = self->pipe[0], .as = self->pipe[1]};
    self->more[1] = (crt_process_fd){.fd = self->pipe[1], .as = self->pipe[0]};
    self->desc.fds = self->more;
    self->desc.fd_count = 2;
    snprintf(self->path, sizeof self->path, "echo x >&%d; read a <&%d; echo $a", self->pipe[0], self->pipe[1]);
    CHECK(self->pipe[1] > 9 || self->pipe[1] < 10);
    if (self->pipe[1] < 10) {   // sh has one digit
        CRT_AWAIT(self->r = crt_process_output(cx, sh(self, self->path), &self->o));
        CHECK(self->r == 0 && said(self, "x\n"));
    }
    close(self->pipe[0]);
    close(self->pipe[1]);
    fresh(self);
    // Signals: nothing blocked, nothing ignored.
    signal(SIGUSR2, SIG_IGN);
    CRT_AWAIT(self->r = crt_process_output(cx, me(self, "signals"), &self->o));
    CHECK(self->r == 0 && said(self, "ok"));
    signal(SIGUSR2, SIG_DFL);
    fresh(self);
    // Environment.
    setenv("CRT_TEST_A", "a", 1);
    setenv("CRT_TEST_B", "b", 1);
    self->env[0] = "CRT_TEST_A=first";
    self->env[1] = "CRT_TEST_B";
    self->env[2] = "CRT_TEST_C=c=c";
    self->env[3] = "CRT_TEST_A=other";
    self->env[4] = NULL;
    self->desc.env = self->env;
    CRT_AWAIT(self->r = crt_process_output(cx,
        sh(self, "echo $CRT_TEST_A,$CRT_TEST_B,$CRT_TEST_C,${PATH:+path}"), &self->o));
    CHECK(self->r == 0 && said(self, "other,,c=c,path\n"));
    fresh(self);
    self->desc.env = self->env;
    self->desc.env_clear = true;
    self->argv[0] = "env";
    self->argv[1] = NULL;
    self->desc.argv = self->argv;
    CRT_AWAIT(self->r = crt_process_output(cx, &self->desc, &self->o));
    CHECK(self->r == 0 && said(self, "CRT_TEST_C=c=c\nCRT_TEST_A=other\n"));
    fresh(self);
    // PATH: the child's counts; an empty piece is the directory it runs in.
    self->env[0] = "PATH=/nowhere::/bin:/usr/bin";
    self->env[1] = NULL;
    self->desc.env = self->env;
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "echo found"), &self->o));
    CHECK(self->r == 0 && said(self, "found\n"));
    fresh(self);
    self->env[0] = "PATH=/nowhere";
    self->desc.env = self->env;
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "echo found"), &self->o));
    CHECK_EQ(self->r, -ENOENT);
    fresh(self);
    // Taken away: the usual directories. A piece that is longer than any path is passed over.
    self->env[0] = "PATH\0/nowhere";
    self->desc.env = self->env;
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "echo found"), &self->o));
    CHECK(self->r == 0 && said(self, "found\n"));
    fresh(self);
    self->data = calloc(1, 6000);
    memset(self->data, 'x', 5000);
    memcpy(self->data, "PATH=/", 6);
    strcat(self->data, ":/bin:/usr/bin");
    self->env[0] = self->data;
    self->desc.env = self->env;
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "echo found"), &self->o));
    CHECK(self->r == 0 && said(self, "found\n"));
    free(self->data);
    fresh(self);
    self->env[0] = "PATH=/nowhere";
    self->desc.program = "/bin/sh";
    self->desc.env = self->env;
    self->desc.dir = "/usr";
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "echo $0; pwd"), &self->o));
    CHECK(self->r == 0 && said(self, "sh\n/usr\n"));
    fresh(self);
    // Groups and sessions.
    for (self->i = 0; self->i < 3; self->i++) {
        self->desc.group = self->i == 1 ? CRT_PROCESS_NEW_GROUP : 0;
        self->desc.new_session = self->i == 2;
        CRT_AWAIT(self->r = crt_process_output(cx, me(self, "group"), &self->o));
        int pid = 0, group = 0, session = 0;
        CHECK(self->r == 0 && sscanf(self->o.out, "%d %d %d", &pid, &group, &session) == 3);
        CHECK_EQ(group, self->i == 0 ? getpgrp() : pid);
        CHECK_EQ(session, self->i == 2 ? pid : getsid(0));
        fresh(self);
    }
    self->desc.group = CRT_PROCESS_NEW_GROUP;
    self->desc.out.kind = CRT_STDIO_PIPE;
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "sleep 1000 & echo; wait"), &self->p));
    self->out = crt_process_take_stdout(self->p);
    CRT_AWAIT(self->r = crt_read(cx, self->out, self->buf, 9));
    CHECK_EQ(self->r, 1);
    CHECK_EQ(crt_process_signal_group(self->p, SIGKILL), 0);
    CRT_AWAIT(self->r = crt_read(cx, self->out, self->buf, 9));
    CHECK_EQ(self->r, 0);   // its child too
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CHECK_EQ(self->status.signal, SIGKILL);
    crt_close(&self->out);
    crt_close(&self->p);
    fresh(self);
    // Another user, which only root can be.
    self->desc.set_uid = self->desc.set_gid = true;
    self->desc.uid = getuid() ? getuid() + 1 : 65534;
    self->desc.gid = getuid() ? getgid() : 65534;
    self->argv[0] = "sh";
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "id -u; id -g; id -G"), &self->o));
    CHECK(getuid() ? self->r == -EPERM : self->r == 0 && said(self, "65534\n65534\n65534\n"));
    CHECK(getuid() || geteuid() == 0);   // this process stays who it is
    fresh(self);
    CRT_END;
}
#endif
static void what_a_child_gets(crt_runtime *rt) { run(rt, gets_run); }

// --- what cannot be started

static crt_poll failures_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    self->desc.in.kind = self->desc.out.kind = self->desc.err.kind = CRT_STDIO_PIPE;
    self->desc.argv = self->argv;
    CRT_AWAIT(self->r = crt_process_spawn(cx, &self->desc, &self->p));
    CHECK(self->r == CRT_EINVAL && !self->p);   // no argv[0]
    CRT_AWAIT(self->r = crt_process_spawn(cx, NULL, &self->p));
    CHECK(self->r == CRT_EINVAL && !self->p);
    static const struct { const char *name; int error; } bad[] = {
#ifdef _WIN32
        {"no-such-program-anywhere", -ENOENT}, {"/nowhere/at/all", -ENOENT}, {"", -ENOENT},
        {"C:/windows", -EACCES}, {"C:/windows/", -EACCES}, {"C:/windows/win.ini/x", -ENOENT},
#else
        {"no-such-program-anywhere", -ENOENT}, {"/nowhere/at/all", -ENOENT}, {"", -ENOENT},
        {"/tmp", -EACCES}, {"/dev/null", -EACCES}, {"/etc/passwd/x", -ENOENT},
#endif
    };
#ifndef _WIN32   // the PATH of whoever runs this may name a directory that cannot be searched: -EACCES
    self->env[0] = "PATH=/bin:/usr/bin";
    self->desc.env = self->env;
#endif
    for (self->i = 0; self->i < 6; self->i++) {
        self->argv[0] = bad[self->i].name;
        self->argv[1] = NULL;
        CRT_AWAIT(self->r = crt_process_spawn(cx, &self->desc, &self->p));
        CHECK(!self->p);
        if (self->i < 5 || self->r != -ENOTDIR) CHECK_EQ(self->r, bad[self->i].error);
    }
    self->desc.env = NULL;
    // A file that is no program.
    if (test_directory(self->dir, sizeof self->dir)) CRT_RETURN(-1);
    snprintf(self->path, sizeof self->path, "%s/program.exe", self->dir);
    self->fd = open(self->path, O_CREAT | O_WRONLY, 0700);
    close(self->fd);
    self->argv[0] = self->path;
    CRT_AWAIT(self->r = crt_process_spawn(cx, &self->desc, &self->p));
    CHECK(self->r == -ENOEXEC && !self->p);
    CHECK(!unlink(self->path) && !rmdir(self->dir));
    self->desc.dir = "/nowhere";
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exit 0"), &self->p));
    CHECK_EQ(self->r, -ENOENT);
    CHECK(!self->p);
    self->desc.dir = NULL;
    self->desc.group = -5;
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exit 0"), &self->p));
    CHECK_EQ(self->r, CRT_EINVAL);
    self->desc.group = 0;
    self->desc.in.kind = CRT_STDIO_STDOUT;
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exit 0"), &self->p));
    CHECK_EQ(self->r, CRT_EINVAL);
    self->desc.in.kind = 77;
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exit 0"), &self->p));
    CHECK_EQ(self->r, CRT_EINVAL);
    self->desc.in = (crt_stdio){.kind = CRT_STDIO_STREAM};
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exit 0"), &self->p));
    CHECK_EQ(self->r, CRT_EINVAL);
    self->desc.in.kind = CRT_STDIO_NULL;
    CHECK(!has_children());
    CRT_END;
}
static void what_cannot_be_started(crt_runtime *rt) { run(rt, failures_run); }

// wine's CreateProcess says ERROR_INTERNAL_ERROR (its new process was gone before it had told that it is there) once in
// some 10,000 times on a busy machine, whatever we do: then nothing was started, and the next attempt is as good.
static bool failed_by_wine(crt_poll r)
{
#ifdef WINE
    return r == -EIO;
#else
    return (void)r, false;
#endif
}
// Out of memory, and out of descriptors, at each point in turn: an error, and nothing is
// left; or a child, which then is whole.
static crt_poll shortage_run(void *frame, crt_cx *cx)
{
#ifndef _WIN32
    static struct rlimit old;
#endif
    task *self = frame;
    CRT_BEGIN(self, cx);
    self->desc.in.kind = self->desc.out.kind = self->desc.err.kind = CRT_STDIO_PIPE;
    for (self->i = 0, self->y = -1; self->i < 200 && self->y != 0; self->i++) {
        fail_after(self->i);
        CRT_AWAIT(self->y = crt_process_spawn(cx, sh(self, "exit 6"), &self->p));
        fail_after(-1);
        if (self->y && !failed_by_wine(self->y)) CHECK_EQ(self->y, CRT_ENOMEM);
        CHECK(!self->y == !!self->p);
    }
    CHECK(self->y == 0 && self->i > 1);
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CHECK_EQ(self->status.code, 6);
    crt_close(&self->p);
    for (self->i = 0, self->y = -1; self->i < 200 && self->y != 0; self->i++) {
        fail_after(self->i);
        CRT_AWAIT(self->y = crt_process_output(cx, sh(self, "echo hello"), &self->o));
        fail_after(-1);
        if (self->y && !failed_by_wine(self->y)) CHECK_EQ(self->y, CRT_ENOMEM);
        if (!self->y) CHECK(said(self, "hello\n"));
        fresh(self);
    }
    CHECK(self->y == 0 && self->i > 1);
#ifndef _WIN32   // no limit on descriptors
    self->desc.in.kind = self->desc.out.kind = self->desc.err.kind = CRT_STDIO_PIPE;
    getrlimit(RLIMIT_NOFILE, &old);
    self->fd = dup(0);   // the lowest that is free
    close(self->fd);
    for (self->i = 0, self->y = -1; self->i < 40 && self->y != 0; self->i++) {
        setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)(self->fd + self->i), old.rlim_max});
        CRT_AWAIT(self->y = crt_process_spawn(cx, sh(self, "exit 6"), &self->p));
        setrlimit(RLIMIT_NOFILE, &old);
        CHECK(self->y == 0 || ((self->y == -EMFILE || self->y == -EINVAL) && !self->p));
    }
    CHECK(self->y == 0 && self->i > 5);
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CHECK_EQ(self->status.code, 6);
    crt_close(&self->p);
#endif
    while (has_children()) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CRT_END;
}
// No memory for a record: nothing would tell of the child's end, so there is none when the spawn returns, though
// there is no SIGCHLD either. `i`: how many allocations succeed before none does.
static crt_poll unheard_run(void *frame, crt_cx *cx)
{
    static crt__sock *all[512];
    task *self = frame;
    CRT_BEGIN(self, cx);
    while ((cx->rt->sock_free || ((cx->rt->sock_count + 64) & (cx->rt->sock_count + 63))) && self->fd < 512)
        CHECK((all[self->fd++] = crt__sock_alloc(cx->rt)) != NULL);
    for (self->i = 0, self->y = -1; self->i < 200 && self->y != 0; self->i++) {
        fail_from(self->i);
        CRT_AWAIT(self->y = crt_process_spawn(cx, sh(self, "exec sleep 1000"), &self->p));
        fail_from(-1);
        if (self->y && !failed_by_wine(self->y)) CHECK_EQ(self->y, CRT_ENOMEM);
        CHECK(!self->y == !!self->p);
        if (self->y) CHECK(!has_children());
    }
    CHECK(self->y == 0 && self->i > 2);
    if (!no_pidfd) CHECK_EQ(crt_process_kill(self->p), 0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(20), crt_process_wait(cx, self->p, &self->status)));
    CHECK_EQ(self->r, no_pidfd ? CRT_ENODRIVER : 0);
    if (no_pidfd) CHECK_EQ(crt_process_kill(self->p), 0);   // only now: of one that has ended it would say that
    while (crt_process_try_wait(self->p, NULL) == 0) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    crt_close(&self->p);
    while (self->fd) crt__sock_unalloc(cx->rt, all[--self->fd]);
    CRT_END;
}
static void no_memory_to_hear_of_a_child(void)
{
    crt_runtime *rt;
    test_log_clear();
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .drivers = CRT_DRIVER_IO | CRT_DRIVER_TIME,
                                           .log = {.func = test_log}}, &rt), 0);
    run(rt, unheard_run);
    CHECK(!no_pidfd == !test_log_has("crt_process_wait needs CRT_DRIVER_SIGNAL"));
    crt_runtime_drop(&rt);
}
static void shortages(crt_runtime *rt)
{
    // Without a descriptor for the pidfd a child is waited for by SIGCHLD, whose pipe stays.
    int lacking = no_pidfd;
#ifndef _WIN32
    no_pidfd = 1;
    run(rt, shortage_run);
#endif
    int before = open_descriptors();
    no_pidfd = 0;
    run(rt, shortage_run);
    CHECK_EQ(open_descriptors(), before);
    no_pidfd = lacking;
}

// --- output

static crt_poll output_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "cat; echo out; echo err >&2; exit 4"), &self->o));
    CHECK(self->r == 0 && self->o.status.code == 4 && said(self, "out\n"));
    CHECK(self->o.err_n == 4 && !strcmp(self->o.err, "err\n"));
    fresh(self);
    self->o.input = "some input";
    self->o.input_n = 10;
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "exec tr a-z A-Z"), &self->o));
    CHECK(self->r == 0 && said(self, "SOME INPUT"));
    fresh(self);
    self->o.input = "nobody reads that";
    self->o.input_n = 10;
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "exit 0"), &self->o));
    CHECK(self->r == 0 && self->o.out_n == 0 && self->o.err_n == 0);
    fresh(self);
    // A lot, and as much as is allowed.
    self->o.max_out = 1000000;
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "head -c 1000000 /dev/zero"), &self->o));
    CHECK(self->r == 0 && self->o.out_n == 1000000);
    fresh(self);
    // One byte more: killed, and what came before is there.
    self->o.max_out = 999999;
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "head -c 1000000 /dev/zero; exec sleep 1000"), &self->o));
    CHECK(self->r == -EFBIG && self->o.out_n == 999999 && self->o.status.signal == SIGKILL);
    CHECK(!has_children());
    fresh(self);
    self->o.max_err = 10;
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "echo fine; exec cat /dev/zero >&2"), &self->o));
    CHECK(self->r == -EFBIG && self->o.err_n == 10);
    CHECK(!has_children());
    fresh(self);
    self->desc.err.kind = CRT_STDIO_STDOUT;
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "echo 1; echo 2 >&2"), &self->o));
    CHECK(self->r == 0 && said(self, "1\n2\n") && !self->o.err);
    fresh(self);
    self->desc.out.kind = self->desc.err.kind = CRT_STDIO_NULL;
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "echo 1; exit 2"), &self->o));
    CHECK(self->r == 0 && !self->o.out && self->o.status.code == 2);
    fresh(self);
    self->desc.out.kind = CRT_STDIO_NULL;   // the one stream that there is
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "echo 1; echo 2 >&2"), &self->o));
    CHECK(self->r == 0 && !self->o.out && self->o.err_n == 2 && !memcmp(self->o.err, "2\n", 2));
    fresh(self);
    // Given up: killed and reaped by then.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(20),
                                    crt_process_output(cx, sh(self, "echo begun; exec sleep 1000"), &self->o)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    while (has_children()) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));   // a spawn that was under way is killed by its job
    fresh(self);
    CRT_AWAIT(self->r = crt_process_output(cx, NULL, &self->o));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_FINALLY
        crt_output_free(&self->o);
    CRT_END;
}
static void output_is_collected(crt_runtime *rt) { run(rt, output_run); }

// --- whatever is cancelled at whatever moment

static crt_poll lives_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    self->desc.in.kind = self->desc.out.kind = CRT_STDIO_PIPE;
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "read a; echo $a"), &self->p));
    if (self->r) CRT_RETURN(self->r);
    self->in = crt_process_take_stdin(self->p);
    self->out = crt_process_take_stdout(self->p);
    CRT_AWAIT(self->r = crt_write_all(cx, self->in, "x\n", 2));
    CRT_AWAIT(self->r = crt_read(cx, self->out, self->buf, 9));
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    self->desc = (crt_process_desc){0};
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "echo hello; exec cat"), &self->o));
    CRT_FINALLY
        crt_close(&self->in);
        crt_close(&self->out);
        crt_close(&self->p);
        crt_output_free(&self->o);
    CRT_END;
}
static crt_poll cancels_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 60; self->i += CANCEL_STEP) {
        CHECK_EQ(crt_spawn_join(cx, &self->join, lives_run, &(task){.i = 0}), 0);
        // Later and later: from before the first poll to the end of it all.
        if (self->i % 2) {
            CRT_AWAIT(self->r = crt_sleep(cx, CRT_US(self->i * self->i * 4 * CANCEL_STEP)));
        } else {
            for (self->fd = 0; self->fd < self->i; self->fd++) CRT_YIELD();
        }
        crt_abort(self->join);
        CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
        CHECK(self->r == CRT_ECANCELED || (self->r == 0 && self->result == 0));
    }
    CRT_END;
}
static void nothing_is_left_of_what_is_cancelled(crt_runtime *rt)
{
    task *frame = calloc(1, sizeof *frame);
    int before = open_descriptors();
    CHECK_EQ(crt_block_on(rt, cancels_run, frame), 0);
    free(frame);
    // Jobs and the reactor may still be at it.
    int most = before + (no_pidfd ? 3 : 0);
    for (int i = 0; i < 5000 && (has_children() || open_descriptors() > most); i++) {
        crt_runtime_turn(rt, 0);
        test_pause_us(1000);
    }
    CHECK(!has_children());
    CHECK(open_descriptors() <= most);
}

// --- dropped

static crt_poll dropped_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    // Killed.
    self->desc.kill_on_drop = true;
    self->desc.out.kind = CRT_STDIO_PIPE;
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exec sleep 1000"), &self->p));
    self->out = crt_process_take_stdout(self->p);
    crt_close(&self->p);
    CRT_AWAIT(self->r = crt_read(cx, self->out, self->buf, 9));
    CHECK_EQ(self->r, 0);
    crt_close(&self->out);
    while (has_children()) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    // Not killed: it goes on, and is reaped by the reactor when it ends.
    self->desc.kill_on_drop = false;
    self->desc.in.kind = CRT_STDIO_PIPE;
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "read a; echo $a"), &self->p));
    self->in = crt_process_take_stdin(self->p);
    self->out = crt_process_take_stdout(self->p);
    crt_close(&self->p);
    CRT_AWAIT(self->r = crt_write_all(cx, self->in, "alive\n", 6));
    CHECK_EQ(self->r, 6);
    CRT_AWAIT(self->r = crt_read(cx, self->out, self->buf, 9));
    CHECK(self->r == 6 && !memcmp(self->buf, "alive\n", 6));
    crt_close(&self->in);
    crt_close(&self->out);
    while (has_children()) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    // One that has ended already.
    self->desc.in.kind = CRT_STDIO_NULL;
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exit 0"), &self->p));
    self->out = crt_process_take_stdout(self->p);
    CRT_AWAIT(self->r = crt_read(cx, self->out, self->buf, 9));
    CRT_AWAIT(crt_sleep(cx, CRT_MS(2)));
    crt_close(&self->out);
    crt_close(&self->p);
    while (has_children()) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CRT_END;
}
static void dropped_children_are_reaped(crt_runtime *rt) { run(rt, dropped_run); }

// --- the end of the runtime

static crt_process *kept, *other;
static crt_poll leave_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    self->desc.kill_on_drop = true;
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exec sleep 1000"), &kept));
    CHECK_EQ(self->r, 0);
    self->desc.kill_on_drop = false;
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exec sleep 1000"), &other));
    CHECK_EQ(self->r, 0);
    CRT_END;
}
static crt_poll holds_run(void *frame, crt_cx *cx)   // until the shutdown
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    self->desc.kill_on_drop = true;
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exec sleep 1000"), &self->p));
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CRT_FINALLY
        crt_close(&self->p);
    CRT_END;
}
static void children_and_the_end_of_the_runtime(void)
{
    static const crt_duration limits[] = {CRT_FOREVER, 0, CRT_MS(1)};
    for (int i = 0; i < 6; i++) {
        crt_runtime *rt;
        crt_exit_status status;
        int before = open_descriptors();
        crt_config config = {.flavor = i % 2 ? CRT_CURRENT_THREAD : CRT_MULTI_THREAD};
        task *frame = calloc(1, sizeof *frame);
        CHECK_EQ(crt_runtime_new(&config, &rt), 0);
        crt_handle *h = crt_runtime_handle(rt);
        CHECK_EQ(crt_handle_spawn(h, holds_run, &(task){.i = 0}), 0);
        crt_handle_drop(&h);
        CHECK_EQ(crt_block_on(rt, leave_run, frame), 0);
        free(frame);
        crt_runtime_shutdown(rt, limits[i / 2]);
        // What dies with the runtime is dead and reaped (in the background without a limit).
        for (int k = 0; k < 3000 && crt_process_id(kept); k++) test_pause_us(1000);
        CHECK_EQ(crt_process_id(kept), 0);
        CHECK_EQ(crt_process_try_wait(kept, &status), 1);
        CHECK_EQ(status.signal, SIGKILL);
        // The other one lives, and can be killed and waited for without a runtime.
        CHECK_EQ(crt_process_try_wait(other, &status), 0);
        crt_runtime_drop(&rt);
        CHECK_EQ(crt_process_kill(other), 0);
        int r;
        while ((r = crt_process_try_wait(other, &status)) == 0) test_pause_us(100);
        CHECK(r == 1 && status.signal == SIGKILL);
        crt_close(&kept);
        crt_close(&other);
        CHECK(no_children_soon(NULL));
        // The first use of SIGCHLD makes a pipe that stays.
        int most = before + (no_pidfd ? 2 : 0);
        for (int k = 0; k < 5000 && open_descriptors() > most; k++) test_pause_us(1000);
        CHECK(open_descriptors() <= most);
    }
}
#ifdef _WIN32
static int kill(int pid, int sig)
{
    HANDLE h = OpenProcess(PROCESS_TERMINATE, FALSE, (DWORD)pid);
    BOOL ok = h && TerminateProcess(h, (UINT)sig);
    if (h) CloseHandle(h);
    return ok ? 0 : -1;
}
#endif
// An output under way when the runtime ends at once: reading, or with nothing to read; its CRT_FINALLY does not run.
static crt_poll cut_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    if (self->i) self->desc.out.kind = self->desc.err.kind = CRT_STDIO_NULL;
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "echo begun; exec sleep 1000"), &self->o));
    CRT_FINALLY
        crt_output_free(&self->o);
    CRT_END;
}
static crt_poll cut_main(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 4; self->i++) CHECK_EQ(crt_spawn(cx, cut_run, &(task){.i = self->i % 2}), 0);
    while (!has_children()) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CRT_AWAIT(crt_sleep(cx, CRT_MS(50)));   // they wait by now, most probably
    CRT_END;
}
static void an_output_that_the_end_of_the_runtime_cuts_short(void)
{
    for (int i = 0; i < 4; i++) {
        crt_runtime *rt;
        int most = open_descriptors() + (no_pidfd ? 2 : 0);   // the first use of SIGCHLD makes a pipe that stays
        int live = __atomic_load_n(&malloc_live, __ATOMIC_RELAXED);
        crt_config config = {.flavor = i % 2 ? CRT_CURRENT_THREAD : CRT_MULTI_THREAD, .log = {.func = test_log}};
        CHECK_EQ(crt_runtime_new(&config, &rt), 0);
        CHECK_EQ(crt_block_on(rt, cut_main, &(task){.i = 0}), 0);
        crt_runtime_shutdown(rt, 0);
        crt_runtime_drop(&rt);
        CHECK(no_children_soon(NULL));
        for (int k = 0; k < 5000; k++) {
            if (open_descriptors() <= most && __atomic_load_n(&malloc_live, __ATOMIC_RELAXED) <= live) break;
            test_pause_us(1000);
        }
        CHECK(open_descriptors() <= most);
        CHECK_EQ(__atomic_load_n(&malloc_live, __ATOMIC_RELAXED), live);
    }
}
// Closed after the end of its runtime, alive: reaped at the next opportunity.
static void an_orphan_of_a_runtime_that_ended(void)
{
    crt_runtime *rt;
    task *frame = calloc(1, sizeof *frame);
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt), 0);
    CHECK_EQ(crt_block_on(rt, leave_run, frame), 0);
    int pid = crt_process_id(other);
    crt_close(&other);
    crt_runtime_drop(&rt);
    crt_close(&kept);
    CHECK(has_children());
    CHECK_EQ(kill(pid, SIGKILL), 0);
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt), 0);
    for (int i = 0; i < 100 && has_children(); i++) {
        memset(frame, 0, sizeof *frame);
        CHECK_EQ(crt_block_on(rt, leave_run, frame), 0);
        CHECK_EQ(crt_process_kill(other), 0);
        int r;
        while ((r = crt_process_try_wait(other, NULL)) == 0) test_pause_us(100);
        CHECK_EQ(r, 1);
        crt_close(&kept);
        crt_close(&other);
        for (int k = 0; k < 3; k++) {   // kqueue may tell of an end too early, and look again
            test_pause_us(1000);
            crt_runtime_turn(rt, 0);
        }
    }
    CHECK(!has_children());
    crt_runtime_drop(&rt);
    free(frame);
}

static crt_poll no_driver_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exit 0"), &self->p));
    CHECK(self->r == CRT_ENODRIVER && !self->p);
    CRT_END;
}
static void without_a_driver(void)
{
    crt_runtime *rt;
    crt_config config = {.flavor = CRT_CURRENT_THREAD, .drivers = CRT_DRIVER_TIME, .log = {.func = test_log}};
    CHECK_EQ(crt_runtime_new(&config, &rt), 0);
    run(rt, no_driver_run);
    CHECK(test_log_has("crt_process_spawn needs CRT_DRIVER_IO"));
    crt_runtime_drop(&rt);
}
// Polled while it stands in the line of the pool.
static int gate[2], holding;   // atomic
static intptr_t hold(void *arg)
{
    char c;
    (void)arg;
    __atomic_store_n(&holding, 1, __ATOMIC_SEQ_CST);
    return read(gate[0], &c, 1);
}
BODY(a_spawn_that_has_not_begun)
{
    POLLS;
    static task t;
    crt_join_handle *join;
    int ended = 0;
    CHECK_EQ(crt_spawn_blocking(cx, &join, hold, NULL), 0);
    while (!__atomic_load_n(&holding, __ATOMIC_SEQ_CST)) test_pause_us(100);
    for (int i = 0; i < 3; i++) CHECK(AT(s[0], crt_process_spawn(cx, sh(&t, "exec sleep 1000"), &t.p)) == PENDING && !t.p);
    CHECK_EQ(write(gate[1], "x", 1), 1);
    while (AT(s[0], crt_process_spawn(cx, sh(&t, "exec sleep 1000"), &t.p)) == PENDING) test_pause_us(100);
    CHECK(got == 0 && t.p);
    CHECK_EQ(AT(s[1], crt_process_wait(cx, t.p, &t.status)), PENDING);
    CHECK_EQ(crt_process_kill(t.p), 0);
    while (AT(s[1], crt_process_wait(cx, NULL, &t.status)) == PENDING) {
        if (!crt__driver_enter(cx->rt)) continue;
        crt__driver_turn(cx->rt, 0);
        crt__driver_leave(cx->rt);
    }
    CHECK(got == 0 && !s[1].op);   // which child it is it knows by itself
    while (!(ended = crt_process_try_wait(t.p, &t.status))) test_pause_us(100);
    CHECK(ended == 1 && t.status.signal == SIGKILL);
    crt_close(&t.p);
    crt_detach(&join);
}
static void a_spawn_in_line(void)
{
    crt_runtime *rt;
    crt_config c = {.flavor = CRT_CURRENT_THREAD, .max_blocking_threads = 1, .thread_keep_alive = CRT_MS(20)};
    if (pipe(gate)) CHECK(!"pipe");
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    a_spawn_that_has_not_begun(rt);
    crt_runtime_drop(&rt);
    close(gate[0]);
    close(gate[1]);
}
#ifndef _WIN32
// There are pidfds, and none for this child. The program's own way with SIGCHLD stays what it is, so these come first.
static void (*sigchld_now(void))(int)
{
    struct sigaction act;
    CHECK_EQ(sigaction(SIGCHLD, NULL, &act), 0);
    return act.sa_handler;
}
static crt_poll no_room_run(void *frame, crt_cx *cx)
{
    static const int errors[] = {EMFILE, ENFILE, ENOMEM, ENOSPC};
    task *self = frame;
    CRT_BEGIN(self, cx);
    self->desc.in.kind = self->desc.out.kind = CRT_STDIO_PIPE;
    for (self->i = 0; self->i < 4; self->i++) {
        no_pidfd_error = errors[self->i];
        CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exec sleep 1000"), &self->p));
        CHECK(self->r == -no_pidfd_error && !self->p);
        CHECK(!has_children() && sigchld_now() == SIG_DFL);
    }
    no_pidfd_error = 0;
    CRT_END;
}
static void no_room_for_a_pidfd(crt_runtime *rt) { run(rt, no_room_run); }
// Where SIGCHLD is ignored the kernel reaps a child as soon as it has ended, before there is a pidfd for it perhaps.
static void until_reaped(int pid)
{
    for (int i = 0; i < 10000 && !kill(pid, 0); i++) test_pause_us(1000);
}
static crt_poll ignored_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exit 3"), &self->p));
    CHECK(self->r == 0 && sigchld_now() == SIG_IGN);
    CHECK(crt_process_kill(self->p) == -ESRCH && crt_process_try_wait(self->p, NULL) == -ECHILD);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(20), crt_process_wait(cx, self->p, &self->status)));
    CHECK_EQ(self->r, -ECHILD);
    crt_close(&self->p);
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "echo said"), &self->o));
    CHECK(self->r == -ECHILD && said(self, "said\n") && sigchld_now() == SIG_IGN);
    crt_output_free(&self->o);
    CRT_END;
}
static void an_ignored_SIGCHLD_stays_ignored(crt_runtime *rt)
{
    signal(SIGCHLD, SIG_IGN);
    no_pidfd_meanwhile = until_reaped;
    run(rt, ignored_run);
    no_pidfd_meanwhile = NULL;
    signal(SIGCHLD, SIG_DFL);
}
// A filter may refuse a pidfd with any error: the child lives, and is waited for by SIGCHLD.
static crt_poll refused_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 2; self->i++) {
        no_pidfd_error = self->i ? EPERM : ESRCH;
        CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exec sleep 1000"), &self->p));
        no_pidfd_error = 0;
        CHECK(self->r == 0 && crt_process_kill(self->p) == 0);
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(20), crt_process_wait(cx, self->p, &self->status)));
        CHECK(self->r == 0 && self->status.signal == SIGKILL);
        crt_close(&self->p);
    }
    CRT_END;
}
static void a_pidfd_that_is_refused(crt_runtime *rt)
{
    int lacking = no_pidfd;
    no_pidfd = 1;
    run(rt, refused_run);
    no_pidfd = lacking;
}
// The kernel takes the dumpable flag from the memory of who changes ids.
#ifdef __linux__
static crt_poll dumpable_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    self->i = prctl(PR_GET_DUMPABLE);
    self->desc.set_uid = true;
    self->desc.uid = 65533; // 65534 is nobody, who may run this
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "exit 0"), &self->o));
    if (geteuid() != 0) CHECK_EQ(self->r, -EPERM);
    CHECK_EQ(prctl(PR_GET_DUMPABLE), self->i);
    fresh(self);
    self->desc.set_gid = true;
    self->desc.gid = 65533;
    CRT_AWAIT(self->r = crt_process_output(cx, sh(self, "exit 0"), &self->o));
    CHECK_EQ(prctl(PR_GET_DUMPABLE), self->i);
    fresh(self);
    CRT_END;
}
static void a_child_of_another_user_leaves_us_dumpable(crt_runtime *rt) { run(rt, dumpable_run); }
#endif
// An environment that grows between the walk that counts and the one that writes.
static void env_one_longer(void)
{
    static char longer[5000];
    memset(longer, 'x', sizeof longer - 1);
    setenv("CRT_TEST_GROWS", longer, 1);
}
static void env_one_more(void)
{
    setenv("CRT_TEST_GROWS", "", 1);
    setenv("CRT_TEST_MORE", "", 1);
}
static crt_poll growing_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 2; self->i++) {
        setenv("CRT_TEST_GROWS", "some room", 1);
        malloc_meanwhile = self->i ? env_one_more : env_one_longer;
        CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exit 0"), &self->p));
        CHECK(self->r == CRT_ENOMEM && !self->p);
        unsetenv("CRT_TEST_GROWS");
        unsetenv("CRT_TEST_MORE");
    }
    CRT_END;
}
static void an_environment_that_grows_meanwhile(void)
{
    crt_runtime *rt;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt), 0);
    run(rt, growing_run);
    crt_runtime_drop(&rt);
}
// Without pidfds and without the driver for signals a child can be started and asked about, not waited for.
static crt_poll beside_run(void *frame, crt_cx *cx)
{
    (void)cx;
    **(bool **)frame = true;
    return 0;
}
static crt_poll unwatched_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exec sleep 1000"), &self->p));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    // Whoever asks again and again lets others run.
    static bool beside;
    CHECK_EQ(crt_spawn(cx, beside_run, &(bool *){&beside}), 0);
    for (self->i = 0; self->i < 1000 && !beside; self->i++) {
        CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
        CHECK_EQ(self->r, CRT_ENODRIVER);
    }
    CHECK(beside);
    CHECK_EQ(crt_process_kill(self->p), 0);
    while (!(self->i = crt_process_try_wait(self->p, &self->status))) CRT_YIELD();
    CHECK(self->i == 1 && self->status.signal == SIGKILL);
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CHECK_EQ(self->r, 0);
    crt_close(&self->p);
    CRT_END;
}
static void without_the_driver_for_signals(void)
{
    crt_runtime *rt;
    crt_config config = {.flavor = CRT_CURRENT_THREAD, .drivers = CRT_DRIVER_IO | CRT_DRIVER_TIME, .log = {.func = test_log}};
    int lacking = no_pidfd;
    no_pidfd = 1;
    CHECK_EQ(crt_runtime_new(&config, &rt), 0);
    run(rt, unwatched_run);
    crt_runtime_drop(&rt);
    no_pidfd = lacking;
}
#endif
#ifdef KQUEUE_SHIM_SYS_EVENT_H
// An event of a record that is gone, whose child's number another child has: it starts no timer, which would tell the
// wrong record.
static crt_poll late_event_run(void *frame, crt_cx *cx)
{
    task *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_process_spawn(cx, sh(self, "exec sleep 1000"), &self->p));
    CHECK_EQ(self->r, 0);
    uint64_t earlier = crt__sock_token(self->p->sock) - (1ull << 32);
    int before = kqueue_shim_descriptors();
    CHECK_EQ(crt__child_event(cx->rt->reactor, crt_process_id(self->p), earlier), 0);
    CHECK_EQ(kqueue_shim_descriptors(), before);
    CHECK_EQ(crt_process_kill(self->p), 0);
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CHECK(self->r == 0 && self->status.signal == SIGKILL);
    crt_close(&self->p);
    CRT_END;
}
static void a_late_event_of_another_child(crt_runtime *rt) { run(rt, late_event_run); }
#endif
#ifndef _WIN32
// Where close_range is missing.
static void descriptors_without_close_range(void)
{
    int fd = open("/dev/null", O_RDONLY), high = fcntl(fd, F_DUPFD, 300);
    CHECK(fd > 2 && high >= 300);
    CHECK(crt__child_close_listed(fd));
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK(fcntl(high, F_GETFD) & FD_CLOEXEC);
    CHECK(!(fcntl(0, F_GETFD) & FD_CLOEXEC));
    close(fd);
    close(high);
}
#endif

// ThreadSanitizer holds signals back while a thread sits in a system call that it does not
// know, as the main thread does in crt_block_on: give them to a thread that it does know.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
static void *takes_signals(void *arg)
{
    while (!__atomic_load_n((int *)arg, __ATOMIC_ACQUIRE)) test_pause_us(1000000);
    return NULL;
}
static pthread_t taker;
static int taker_stop;
static void signals_elsewhere(bool begin)
{
#ifdef __SANITIZE_THREAD__
    sigset_t sigchld;
    sigemptyset(&sigchld);
    sigaddset(&sigchld, SIGCHLD);
    if (begin) {
        pthread_create(&taker, NULL, takes_signals, &taker_stop);
        pthread_sigmask(SIG_BLOCK, &sigchld, NULL);
    } else {
        __atomic_store_n(&taker_stop, 1, __ATOMIC_RELEASE);
        pthread_join(taker, NULL);
    }
#else
    (void)begin;
    (void)taker;
    (void)taker_stop;
    (void)takes_signals;
#endif
}

int main(int argc, char **argv)
{
#ifdef _WIN32
    if (argc == 4 && !strcmp(argv[1], "child")) return test_sh(argv[3], argv[0]);
    self_path = test__exe();
#endif
    if (argc == 3 && !strcmp(argv[1], "child")) return child_main(argv[2]);
    if (getenv("TEST_SELF")) self_path = getenv("TEST_SELF");   // under an emulator: the script that starts it
    test_init(argc, argv);
    signals_elsewhere(true);
    // Where the system has none (an old kernel, memcheck), there is the second round only.
    int lacking = 0;
#ifdef SYS_pidfd_open
    long probe = syscall(SYS_pidfd_open, getpid(), 0u);
    lacking = probe < 0;
    if (probe >= 0) close((int)probe);
#endif
#ifdef _WIN32
    int rounds = 1;
#else
    int rounds = 2;
#endif
#ifndef _WIN32
    if (!lacking) {
        TEST_ON_EACH(no_room_for_a_pidfd);
        TEST_ON_EACH(an_ignored_SIGCHLD_stays_ignored);
    }
#endif
    for (no_pidfd = lacking; no_pidfd < rounds; no_pidfd++) {
        TEST_ON_EACH(ways_to_end);
        TEST_ON_EACH(several_wait);
        TEST(waited_for_from_another_runtime);
        TEST(no_memory_to_hear_of_a_child);
        TEST_ON_EACH(standard_descriptors);
        TEST_ON_EACH(output_is_collected);
        TEST_ON_EACH(nothing_is_left_of_what_is_cancelled);
        TEST_ON_EACH(dropped_children_are_reaped);
        TEST(children_and_the_end_of_the_runtime);
        TEST(an_output_that_the_end_of_the_runtime_cuts_short);
        TEST(an_orphan_of_a_runtime_that_ended);
    }
    no_pidfd = lacking;
    TEST_ON_EACH(what_a_child_gets);
    TEST_ON_EACH(what_cannot_be_started);
    TEST_ON_EACH(shortages);
    TEST(without_a_driver);
    TEST(a_spawn_in_line);
#ifndef _WIN32
    TEST(without_the_driver_for_signals);
    TEST_ON_EACH(a_pidfd_that_is_refused);
    TEST(an_environment_that_grows_meanwhile);
#endif
#ifdef __linux__
    TEST_ON_EACH(a_child_of_another_user_leaves_us_dumpable);
#endif
#ifdef KQUEUE_SHIM_SYS_EVENT_H
    TEST_ON_EACH(a_late_event_of_another_child);
#endif
#ifndef _WIN32
    TEST(descriptors_without_close_range);
#endif
    signals_elsewhere(false);
    return test_end();
}
