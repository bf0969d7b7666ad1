// What the system does to a program: it forks, is stopped and goes on, is showered with
// signals, all while tasks talk and sleep.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

#include <sys/wait.h>

static crt_poll seven_run(void *frame, crt_cx *cx)
{
    (void)frame;
    return crt_take_unwind(cx) ? CRT_UNWIND : 7;
}

// ---- fork

static crt_poll parks_run(void *frame, crt_cx *cx)
{
    (void)frame;
    return crt_take_unwind(cx) ? CRT_UNWIND : CRT_PENDING;
}
CRT__UNUSED static int in_the_child(crt_runtime *rt, bool multi, crt_join_handle *parked)
{
    int frame = 0, wrong = 0;
    alarm(test_patience(20));
    test_log_clear();
    wrong |= (crt_block_on(rt, seven_run, &frame) != CRT_ENOCONTEXT) << 0;
    wrong |= !test_log_has("crt_block_on after fork()") << 1;
    wrong |= (crt_runtime_turn(rt, 0) != (multi ? CRT_EINVAL : CRT_ENOCONTEXT)) << 2;
    wrong |= (crt_runtime_shutdown(rt, CRT_FOREVER) != CRT_ENOCONTEXT) << 3;
    wrong |= (crt_join_blocking(&parked, NULL) != CRT_ENOCONTEXT || !parked) << 5;
    crt_runtime_drop(&rt);
    wrong |= (rt != NULL) << 4;
    return wrong;
}
// A fault in a task has the program's handler, whichever thread polls it.
CRT__UNUSED static void fault_handler(int sig)
{
    (void)sig;
    _exit(42);
}
CRT__UNUSED static crt_poll faults_run(void *frame, crt_cx *cx)
{
    (void)frame;
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    *(volatile int *)(uintptr_t)8 = 1;
    return 0;
}
CRT__UNUSED static intptr_t faults(void *unused)
{
    (void)unused;
    *(volatile int *)(uintptr_t)8 = 1;
    return 0;
}
static void a_fault_reaches_the_programs_handler(void)
{
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)   // which have handlers of their own
    for (int kind = 0; kind < 3; kind++) {   // the thread of crt_block_on, a worker, one of the pool
        int status = -1, frame = 0;
        pid_t child = fork();
        if (child == 0) {
            crt_runtime *rt;
            crt_join_handle *join;
            struct sigaction sa;
            memset(&sa, 0, sizeof sa);
            sa.sa_handler = fault_handler;
            sigaction(SIGSEGV, &sa, NULL);
            alarm(test_patience(20));
            if (crt_runtime_new(&(crt_config){.flavor = kind ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD, .worker_threads = kind ? 1 : 0}, &rt)) _exit(2);
            if (kind < 2) (void)crt_block_on(rt, faults_run, &frame);
            else if (!crt_handle_spawn_blocking(crt_runtime_handle(rt), &join, faults, NULL)) (void)crt_join_blocking(&join, NULL);
            _exit(1);
        }
        CHECK(child > 0);
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), 42);
    }
#endif
}
// A program that was started without standard input and output: what crt makes for itself does not take their place.
static crt_poll no_stdio_run(void *frame, crt_cx *cx)
{
    crt_stream *s = NULL;
    (void)frame;
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    bool none = crt_ctrl_c(cx) == CRT_PENDING && crt_stdin(cx, &s) == -EBADF && crt_stdout(cx, &s) == -EBADF && !s;
    crt__slot_cancel(cx->slot);
    return none;
}
static void started_without_standard_descriptors(void)
{
#ifdef KQUEUE_SHIM_SYS_EVENT_H   // whose filters have descriptors of their own, which come by those numbers
    (void)no_stdio_run;
#else
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        crt_runtime *rt;
        int frame = 0;
        close(0);
        close(1);
        alarm(test_patience(20));
        if (crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt)) _exit(2);
        crt_poll none = crt_block_on(rt, no_stdio_run, &frame);
        crt_runtime_drop(&rt);
        _exit(none == 1 ? 0 : 1);
    }
    CHECK(child > 0);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
#endif
}
static void a_child_of_a_running_program_is_told(void)
{
#if !defined(__SANITIZE_THREAD__)   // which ends the child of a program with threads
    for (int kind = 0; kind < 2; kind++) {
        crt_runtime *rt;
        crt_config c = {.flavor = kind ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD, .worker_threads = kind ? 2 : 0, .log.func = test_log};
        int frame = 0, status = -1;
        crt_join_handle *parked;
        CHECK_EQ(crt_runtime_new(&c, &rt), 0);
        CHECK_EQ(crt_block_on(rt, seven_run, &frame), 7);
        crt_handle *h = crt_runtime_handle(rt);
        CHECK_EQ(crt_handle_spawn_join(h, &parked, parks_run, &frame), 0);
        crt_handle_drop(&h);
        pid_t child = fork();
        if (child == 0) _exit(in_the_child(rt, kind, parked));
        CHECK(child > 0);
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), 0);
        CHECK_EQ(crt_block_on(rt, seven_run, &frame), 7);   // the parent goes on
        crt_abort(parked);
        crt_detach(&parked);
        crt_runtime_drop(&rt);
    }
#endif
}

// ---- a program that is disturbed: exit status 0 if all it did was right

enum { ROUNDS = 400 };
typedef struct work {
    crt_frame co, echo, ask;
    crt_stream *a, *b;
    CRT_SELECT(3) sel;
    crt_interval interval;
    crt_instant begun;
    crt_poll r, n, k, w[3];
    int i, j, t;
    unsigned char out[64], in[64], through[64];
} work;
static crt_poll echo_run(work *self, crt_cx *cx)
{
    CRT_BEGIN(&self->echo, cx);
    for (;;) {
        CRT_AWAIT(self->n = crt_read(cx, self->b, self->through, sizeof self->through));
        if (self->n <= 0) CRT_RETURN(self->n);
        CRT_AWAIT(self->r = crt_write_all(cx, self->b, self->through, (size_t)self->n));
        if (self->r < 0) CRT_RETURN(self->r);
    }
    CRT_END;
}
static crt_poll ask_run(work *self, crt_cx *cx)
{
    CRT_BEGIN(&self->ask, cx);
    for (self->i = 0; self->i < ROUNDS; self->i++) {
        for (int k = 0; k < 64; k++) self->out[k] = (unsigned char)(self->i + k);
        CRT_AWAIT(self->k = crt_write_all(cx, self->a, self->out, sizeof self->out));
        if (self->k < 0) CRT_RETURN(self->k);
        CRT_AWAIT(self->k = crt_read_exact(cx, self->a, self->in, sizeof self->in));
        if (self->k != 64 || memcmp(self->in, self->out, 64)) CRT_RETURN(CRT_EPROTO);
        if (self->i % 8 == 0) {   // never early, whatever happens
            self->begun = crt_now(cx);
            CRT_AWAIT(crt_sleep(cx, CRT_US(700)));
            if (crt_now(cx) - self->begun < CRT_US(700)) CRT_RETURN(CRT_EPROTO);
        }
    }
    CRT_AWAIT(self->k = crt_shutdown(cx, self->a));
    CRT_RETURN(self->k);
    CRT_END;
}
static crt_poll work_run(void *frame, crt_cx *cx)
{
    work *self = frame;
    CRT_BEGIN(self, cx);
    self->r = crt_stream_pair(cx, &self->a, &self->b);
    if (self->r < 0) CRT_RETURN(self->r);
    CRT_AWAIT(self->r = crt_try_join(cx, &self->sel, crt_on(cx, 0, self->w[0] = echo_run(self, cx)),
                                     crt_on(cx, 1, self->w[1] = ask_run(self, cx))));
    CRT_RETURN(self->r);
    CRT_FINALLY
        crt_close(&self->a);
        crt_close(&self->b);
    CRT_END;
}
static int handled;
static void handler(int sig)
{
    (void)sig;
    __atomic_fetch_add(&handled, 1, __ATOMIC_RELAXED);
}
static int works(int kind)
{
    crt_runtime *rt;
    static work frame;
    crt_config c = {.flavor = kind ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD, .worker_threads = kind ? 2 : 0};
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = handler;   // without SA_RESTART: calls are interrupted
    sigaction(SIGUSR1, &sa, NULL);
    alarm(test_patience(50));
    if (crt_runtime_new(&c, &rt)) return 1;
    crt_poll r = crt_block_on(rt, work_run, &frame);
    crt_runtime_drop(&rt);
    return r != 0;
}
// Runs `works` in a child and disturbs it until it has ended.
static void disturbed(int kind, int first, int second)
{
    int status = -1, times = 0;
    fflush(NULL);
    signal(SIGUSR1, SIG_IGN);   // the child's, until it has a handler
    pid_t child = fork();
    if (child == 0) _exit(works(kind));
    CHECK(child > 0);
    test_pause_us(2000);
    while (waitpid(child, &status, WNOHANG) == 0) {
        kill(child, first);
        if (second) test_pause_us(1500);
        if (second) kill(child, second);
        if (second || ++times % 16 == 0) test_pause_us(500);
    }
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
}
static void stopped_and_continued(void)
{
    for (int kind = 0; kind < 2; kind++) disturbed(kind, SIGSTOP, SIGCONT);
}
static void showered_with_signals(void)
{
    for (int kind = 0; kind < 2; kind++) disturbed(kind, SIGUSR1, 0);
}

int main(int argc, char **argv)
{
    (void)test__on_each;
    test_init(argc, argv);
    // First those that fork before there is a thread.
    TEST(a_fault_reaches_the_programs_handler);
    TEST(started_without_standard_descriptors);
    TEST(stopped_and_continued);
    TEST(showered_with_signals);
    TEST(a_child_of_a_running_program_is_told);
    return test_end();
}
