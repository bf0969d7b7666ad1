// What the system does to a program: it forks, is stopped and goes on, is showered with
// signals, all while tasks talk and sleep.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

#include <sys/resource.h>
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
}
// Nor does what it makes for the program: a line of the log or a printf would go to a client, or into a data file.
// Each kind of descriptor in turn. Nobody hears a CHECK there: `said` is where standard error was.
typedef struct maker {
    crt_frame co;
    crt_listener *l, *at_path;
    crt_stream *a, *b, *c, *d, *e;
    crt_udp *u, *v;
    crt_file *f, *g;
    crt_dir *dir;
    crt_process *p, *q;
    char *name;
    char path[100], file[120], sock[120], addr[64];
    crt_addr at;
    crt_poll r;
    int bad;
} maker;
enum { MOST_FDS = 128, SAID = 100 };
// 0, 1 and 2 are closed.
static void look(maker *self, const char *what)
{
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) < 0) continue;
        if (self->bad++ < 3) dprintf(SAID, "%s has opened descriptor %d\n", what, fd);
    }
}
static void gives(maker *self, const char *what, crt_poll r, crt_poll want)
{
    look(self, what);
    if (r == want) return;
    self->bad++;
    dprintf(SAID, "%s is %lld, not %lld\n", what, (long long)r, (long long)want);
}
// Looked at when the call is done. While it waits, a thread of the pool may be between the kernel's answer, which has
// such a number, and the number above 2 that it is moved to.
#define GIVES(want, what)                                                                  \
    do {                                                                                   \
        CRT_AWAIT(self->r = what);                                                         \
        gives(self, #what, self->r, want);                                                 \
    } while (0)
// No number is left but those three.
static void use_all_numbers(void)
{
    while (fcntl(SAID, F_DUPFD_CLOEXEC, 0) >= 0) {}
    for (int fd = 0; fd < 3; fd++) close(fd);
}
static const char *const cat[] = {"cat", NULL};
static const crt_process_desc with_pipes = {.argv = cat, .kill_on_drop = true, .in.kind = CRT_STDIO_PIPE,
                                            .out.kind = CRT_STDIO_PIPE, .err.kind = CRT_STDIO_PIPE};
static const crt_process_desc with_null = {.argv = cat, .in.kind = CRT_STDIO_NULL, .out.kind = CRT_STDIO_NULL,
                                           .err = {.kind = CRT_STDIO_FD, .fd = SAID}};
static crt_poll maker_run(void *frame, crt_cx *cx)
{
    maker *self = frame;
    CRT_BEGIN(self, cx);
    GIVES(0, crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    gives(self, "its address", crt_local_addr(self->l, &self->at), 0);
    crt_addr_format(&self->at, self->addr, sizeof self->addr);
    GIVES(0, crt_tcp_connect(cx, self->addr, &self->a));
    GIVES(0, crt_accept(cx, self->l, &self->b, NULL));
    crt_close(&self->a), crt_close(&self->b);
    GIVES(0, crt_unix_listen(cx, self->sock, NULL, &self->at_path));
    GIVES(0, crt_unix_connect(cx, self->sock, &self->a));
    GIVES(0, crt_accept(cx, self->at_path, &self->b, NULL));
    GIVES(0, crt_udp_bind(cx, "127.0.0.1:0", &self->u));
    crt_close(&self->u);
    GIVES(0, crt_unix_dgram_bind(cx, NULL, NULL, &self->u));
    crt_close(&self->u);
    gives(self, "crt_unix_dgram_pair", crt_unix_dgram_pair(cx, &self->u, &self->v), 0);
    gives(self, "crt_stream_pair", crt_stream_pair(cx, &self->c, &self->d), 0);
    gives(self, "CRT_FD_DUP", crt_stream_from_fd(cx, crt_stream_fd(self->c), CRT_FD_DUP, &self->e), 0);
    crt_close(&self->c), crt_close(&self->d), crt_close(&self->e);
    gives(self, "crt_pipe", crt_pipe(cx, &self->c, &self->d), 0);
    gives(self, "crt_fd_readable", crt_fd_readable(cx, crt_stream_fd(self->c)), CRT_PENDING);
    crt__slot_cancel(cx->slot);
    GIVES(0, crt_fs_write_file(cx, self->file, "abc", 3));
    GIVES(0, crt_fs_open(cx, self->file, NULL, &self->f));
    crt_close(&self->f);
    GIVES(0, crt_fs_temp_file(cx, self->path, &self->f, NULL));
    GIVES(0, crt_fs_temp_file(cx, self->path, &self->g, &self->name));
    gives(self, "to remove it", unlink(self->name), 0);
    GIVES(0, crt_fs_read_dir(cx, self->path, &self->dir));
    GIVES(0, crt_process_spawn(cx, &with_null, &self->p));
    GIVES(0, crt_process_wait(cx, self->p, NULL));
    crt_close(&self->p);
    GIVES(0, crt_process_spawn(cx, &with_pipes, &self->p));
    // Where there is no other number, that is the error, and nothing is left.
    GIVES(0, crt_tcp_connect(cx, self->addr, &self->e));
    crt_close(&self->a), crt_close(&self->b), crt_close(&self->c), crt_close(&self->d), crt_close(&self->g);
    crt_close(&self->u), crt_close(&self->v), crt_close(&self->f), crt_close(&self->dir), crt_close(&self->at_path);
    use_all_numbers();   // the child's stay: they are closed when it has ended
    gives(self, "without a number, crt_try_accept", crt_try_accept(self->l, &self->b, NULL), -EMFILE);
    gives(self, "without a number, crt_pipe", crt_pipe(cx, &self->c, &self->d), -EMFILE);
    gives(self, "without a number, crt_stream_pair", crt_stream_pair(cx, &self->c, &self->d), -EMFILE);
    GIVES(-EMFILE, crt_udp_bind(cx, "127.0.0.1:0", &self->u));
    GIVES(-EMFILE, crt_tcp_connect(cx, self->addr, &self->a));
    GIVES(-EMFILE, crt_fs_open(cx, self->file, NULL, &self->f));
    GIVES(-EMFILE, crt_fs_temp_file(cx, self->path, &self->f, &self->name));
    GIVES(-EMFILE, crt_fs_read_dir(cx, self->path, &self->dir));
    GIVES(-EMFILE, crt_fs_remove_dir_all(cx, self->path));
    GIVES(-EMFILE, crt_process_spawn(cx, &with_null, &self->q));
    gives(self, "close", close(SAID + 1), 0);
    gives(self, "with one number for two, crt_pipe", crt_pipe(cx, &self->c, &self->d), -EMFILE);
    gives(self, "that number, which it has given back,", fcntl(SAID + 1, F_GETFD), -1);
    CRT_FINALLY
        crt_close(&self->e), crt_close(&self->l), crt_close(&self->p);
    CRT_END;
}
static int makes_everything(int kind, maker *self)
{
    crt_config c = {.flavor = kind ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD, .worker_threads = kind ? 2 : 0};
    crt_runtime *rt;
    alarm(test_patience(20));
    if (setrlimit(RLIMIT_NOFILE, &(struct rlimit){MOST_FDS, MOST_FDS}) || dup2(2, SAID) != SAID) return 2;
    if (fcntl(SAID, F_SETFD, FD_CLOEXEC)) return 2;
    for (int fd = 0; fd < 3; fd++) close(fd);
    gives(self, "crt_runtime_new", crt_runtime_new(&c, &rt), 0);
    if (self->bad) return 1;
    gives(self, "all of it", crt_block_on(rt, maker_run, self), 0);
    crt_free(self->name);
    crt_runtime_drop(&rt);
    unlink(self->sock), unlink(self->file);
    gives(self, "rmdir", rmdir(self->path), 0);
    return self->bad != 0;
}
static void no_descriptor_of_a_program_started_without_them(void)
{
    for (int kind = 0; kind < 2; kind++) {
        maker frame = {.bad = 0};
        int status = -1;
        CHECK_EQ(test_directory(frame.path, sizeof frame.path), 0);
        snprintf(frame.file, sizeof frame.file, "%s/f", frame.path);
        snprintf(frame.sock, sizeof frame.sock, "%s/s", frame.path);
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) _exit(makes_everything(kind, &frame));
        CHECK(child > 0);
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), 0);
    }
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
    TEST(no_descriptor_of_a_program_started_without_them);
    TEST(stopped_and_continued);
    TEST(showered_with_signals);
    TEST(a_child_of_a_running_program_is_told);
    return test_end();
}
