// At the edge: descriptors run out with clients waiting, no thread can be started, the clock
// jumps, peers stall, reset, or speak a byte at a time.
//
// crt's clock and thread starts are caught by macros; see test_syscalls.c for all the calls.
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#ifdef _WIN32
#include <winsock2.h>
#include <process.h>
#include <windows.h>
#endif

static int64_t clock_jumped;   // atomic; ns that are added to what the system says
static int looks_left;         // atomic; at so many looks from now the clock jumps by jump_then
static int64_t jump_then;
static int64_t jumped(void)
{
    if (__atomic_load_n(&looks_left, __ATOMIC_SEQ_CST) && !__atomic_sub_fetch(&looks_left, 1, __ATOMIC_SEQ_CST))
        __atomic_fetch_add(&clock_jumped, jump_then, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&clock_jumped, __ATOMIC_SEQ_CST);
}
#ifdef _WIN32
static BOOL jumping_counter(LARGE_INTEGER *t)
{
    LARGE_INTEGER f;
    int64_t by = jumped();
    BOOL ok = QueryPerformanceFrequency(&f) && QueryPerformanceCounter(t);
    t->QuadPart += by / 1000000000 * f.QuadPart + by % 1000000000 * f.QuadPart / 1000000000;
    return ok;
}
#else
static _Thread_local int64_t added;   // at this thread's last look
static int jumping_clock(clockid_t id, struct timespec *t)
{
    added = jumped();
    int r = clock_gettime(id, t);
    int64_t now = (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
    now += added;
    t->tv_sec = (time_t)(now / 1000000000);
    t->tv_nsec = (long)(now % 1000000000);
    return r;
}
// A wait until a time of crt's clock goes by the system's: so waits who has no futex, and has looked just before.
static __attribute__((unused)) int jumping_wait(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until)
{
    int64_t at = (int64_t)until->tv_sec * 1000000000 + until->tv_nsec - added;
    struct timespec t = {(time_t)(at / 1000000000), (long)(at % 1000000000)};
    return pthread_cond_timedwait(cond, lock, &t);
}
#endif
static void jump(int64_t ns) { __atomic_fetch_add(&clock_jumped, ns, __ATOMIC_SEQ_CST); }
static int threads_left = -1;   // atomic; how many can be started yet; -1: any number
static bool another_thread(void)
{
    int n = __atomic_load_n(&threads_left, __ATOMIC_SEQ_CST);
    if (n > 0) __atomic_fetch_sub(&threads_left, 1, __ATOMIC_SEQ_CST);
    return n != 0;
}
#ifdef _WIN32
static uintptr_t limited_begin(unsigned size, unsigned(__stdcall *fn)(void *), void *arg, unsigned flags)
{
    if (!another_thread()) return errno = EAGAIN, (uintptr_t)0;
    return _beginthreadex(NULL, size, fn, arg, flags, NULL);
}
#define QueryPerformanceCounter(t) jumping_counter(t)
#define _beginthreadex(security, size, fn, arg, flags, id) limited_begin((size), (fn), (arg), (flags))
#else
static int limited_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
    return another_thread() ? pthread_create(thread, attr, fn, arg) : EAGAIN;
}
#define clock_gettime(id, t) jumping_clock((id), (t))
#define pthread_cond_timedwait(c, l, t) jumping_wait((c), (l), (t))
#define pthread_create(t, a, f, arg) limited_create((t), (a), (f), (arg))
#endif
#define CRT_PLATFORM_HEADER "faulty_platform.h"
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#undef pthread_create
#undef pthread_cond_timedwait
#undef clock_gettime
#undef QueryPerformanceCounter
#undef _beginthreadex
#ifdef _WIN32
#define A_FILE __FILE__
#else
#define A_FILE "/proc/self/comm"
#endif

#include <sys/resource.h>
#include <sys/wait.h>

static crt_config with_workers(int n)   // 0: current thread
{
    crt_config c = {.worker_threads = n, .log = {.func = test_log}};
    c.flavor = n ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD;
    return c;
}
static crt_runtime *runtime(int workers)
{
    crt_runtime *rt;
    crt_config c = with_workers(workers);
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    return rt;
}

// ---- 60 clients, 24 descriptors --------------------------------------------------------

#ifndef _WIN32   // which has no limit on descriptors
enum { CLIENTS = 60, DESCRIPTORS = 24 };
typedef struct conn {
    crt_frame co;
    crt_stream *s;
    crt_poll r;
    char c;
} conn;
static crt_poll conn_run(void *frame, crt_cx *cx)
{
    conn *self = frame;
    CRT_BEGIN(self, cx);
    while ((self->r = 0), true) {
        CRT_AWAIT(self->r = crt_read(cx, self->s, &self->c, 1));
        if (self->r <= 0) CRT_RETURN(self->r);
        CRT_AWAIT(self->r = crt_write_all(cx, self->s, &self->c, 1));
        if (self->r < 0) CRT_RETURN(self->r);
    }
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
typedef struct server {
    crt_frame co;
    crt_listener *l;
    crt_stream *s;
    crt_join_set conns;
    int served, tell;
    crt_poll r;
} server;
static crt_poll server_run(void *frame, crt_cx *cx)
{
    server *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    {
        crt_addr a;
        crt_local_addr(self->l, &a);
        int port = crt_addr_port(&a);
        if (self->r < 0 || write(self->tell, &port, sizeof port) != sizeof port) CRT_RETURN(-1);
    }
    while (self->served < CLIENTS) {
        CRT_AWAIT(self->r = crt_accept(cx, self->l, &self->s, NULL));
        if (self->r < 0) CRT_RETURN(self->r);
        self->r = crt_join_set_spawn(cx, &self->conns, conn_run, &(conn){.s = self->s});
        if (self->r < 0) CRT_RETURN(self->r);
        self->s = NULL;
        self->served++;
    }
    do CRT_AWAIT(self->r = crt_join_set_next(cx, &self->conns, NULL));
    while (self->r == 0);
    CRT_RETURN(self->served);
    CRT_FINALLY
        crt_close(&self->l);
        crt_close(&self->s);
        crt_join_set_drop(&self->conns);
    CRT_END;
}
// In a child. 0: all were served, without looking over and over.
static int serve(int workers, int tell)
{
    struct rlimit most = {DESCRIPTORS, DESCRIPTORS};
    server frame = {.tell = tell};
    alarm(50);
    fault_begin(0, false, 0);
    if (setrlimit(RLIMIT_NOFILE, &most)) return 1;
    crt_runtime *rt = runtime(workers);
    if (!rt) return 2;
    crt_poll r = crt_block_on(rt, server_run, &frame);
    uint32_t calls = fault_calls(FAULT_ACCEPT);
    crt_runtime_drop(&rt);
    if (r != CLIENTS) return 3;
    if (!test_log_has(strerror(EMFILE))) return 4;   // that was not the test
    return calls < 1000 ? 0 : 5;
}
static void descriptors_run_out(void)
{
    for (int workers = 0; workers <= 2; workers += 2) {
        int tell[2], fd[CLIENTS], port = 0, status = -1, open_ones = 0, replied = 0;
        bool done[CLIENTS] = {false};
        char c;
        CHECK_EQ(pipe(tell), 0);
        test_log_clear();
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) _exit(serve(workers, tell[1]));
        CHECK_EQ(read(tell[0], &port, sizeof port), (ssize_t)sizeof port);
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        for (int i = 0; i < CLIENTS; i++) {
            fd[i] = socket(AF_INET, SOCK_STREAM, 0);
            CHECK_EQ(connect(fd[i], (struct sockaddr *)&a, sizeof a), 0);   // into the backlog
            CHECK_EQ(write(fd[i], "x", 1), 1);
            open_ones++;
        }
        // Who has an answer keeps its connection until nobody else gets one.
        for (int idle = 0; replied < CLIENTS && !test__bad;) {
            int before = replied;
            for (int i = 0; i < CLIENTS; i++)
                if (!done[i] && recv(fd[i], &c, 1, MSG_DONTWAIT) == 1) done[i] = true, replied++;
            idle = replied == before ? idle + 1 : 0;
            test_pause_us(2000);
            if (idle < 30) continue;
            for (int i = 0; i < CLIENTS; i++)
                if (done[i] && fd[i] >= 0) close(fd[i]), fd[i] = -1, open_ones--;
            idle = 0;
        }
        for (int i = 0; i < CLIENTS; i++)
            if (fd[i] >= 0) close(fd[i]);
        CHECK_EQ(replied, CLIENTS);
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), 0);
        close(tell[0]);
        close(tell[1]);
    }
}
#endif

// ---- no more threads -----------------------------------------------------------------------

static intptr_t job(void *arg) { return (intptr_t)arg + 1; }
typedef struct jobs {
    crt_frame co;
    crt_join_handle *join;
    void *data;
    size_t n;
    intptr_t result;
    crt_poll r;
} jobs;
static crt_poll jobs_run(void *frame, crt_cx *cx)
{
    jobs *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_blocking(cx, &self->join, job, (void *)1), -EAGAIN);
    CHECK(self->join == NULL);
    CRT_AWAIT(self->r = crt_fs_read_file(cx, A_FILE, &self->data, &self->n));
    CHECK(self->r == -EAGAIN && !self->data);
    CRT_AWAIT(self->r = crt_sleep(cx, CRT_MS(1)));   // all else goes on
    CHECK_EQ(self->r, 0);
    __atomic_store_n(&threads_left, 1, __ATOMIC_SEQ_CST);   // one thread is enough
    CHECK_EQ(crt_spawn_blocking(cx, &self->join, job, (void *)1), 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK(self->r == 0 && self->result == 2);
    CRT_AWAIT(self->r = crt_fs_read_file(cx, A_FILE, &self->data, &self->n));
    CHECK(self->r == 0 && self->n > 0);
    CRT_FINALLY
        crt_free(self->data);
    CRT_END;
}
static void no_thread_can_be_started(void)
{
    int fds = test_fd_count();
    for (int workers = 0; workers <= 3; workers++) {
        crt_config c = with_workers(workers);
        crt_runtime *rt = NULL;
        for (int n = 0; n < workers; n++) {   // the n-th worker's
            threads_left = n;
            CHECK_EQ(crt_runtime_new(&c, &rt), -EAGAIN);
            CHECK(rt == NULL);
            CHECK_EQ(test_fd_count(), fds);
        }
        threads_left = workers;   // none for the pool
        jobs j = {.r = 0};
        CHECK_EQ(crt_runtime_new(&c, &rt), 0);
        CHECK_EQ(crt_block_on(rt, jobs_run, &j), 0);
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_SEC(10)), 0);
        crt_runtime_drop(&rt);
        threads_left = -1;
        CHECK_EQ(test_fd_count(), fds);
    }
}
// A program is told by its status: there is nobody else yet.
static crt_poll never_run(void *frame, crt_cx *cx)
{
    (void)frame;
    (void)cx;
    CHECK(!"it has begun");
    return 0;
}
static void a_program_without_threads(void)
{
    char name[] = "prog", *argv[] = {name, NULL};
    int fds = test_fd_count(), frame = 0;
    threads_left = 0;
    CHECK_EQ(crt__main(never_run, &frame, 1, argv), 1);
    threads_left = -1;
    CHECK_EQ(test_fd_count(), fds);
}
// The same by the system's own limit, which does not hold for root: as nobody, in a child.
#ifndef _WIN32
static CRT__UNUSED int as_nobody(void)
{
    struct rlimit few = {1, 1};
    crt_runtime *rt;
    crt_config c = with_workers(2);
    int e;
    alarm(50);
    if (getuid() == 0 && (setgid(65534) || setuid(65534))) return 77;
    if (setrlimit(RLIMIT_NPROC, &few)) return 77;
    if ((e = crt_runtime_new(&c, &rt)) != -EAGAIN || rt) return e == 0 ? 1 : 2;
    c = with_workers(0);
    if (crt_runtime_new(&c, &rt)) return 3;
    crt_handle *h = crt_runtime_handle(rt);
    crt_join_handle *join;
    if (crt_handle_spawn_blocking(h, &join, job, NULL) != -EAGAIN || join) return 4;
    crt_handle_drop(&h);
    if (crt_runtime_shutdown(rt, CRT_SEC(5))) return 5;
    crt_runtime_drop(&rt);
    return 0;
}
static void the_limit_of_threads_is_met(void)
{
#if !defined(__SANITIZE_THREAD__)   // which has a thread of its own
    int status = -1;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) _exit(as_nobody());
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    if (WEXITSTATUS(status) != 77) CHECK_EQ(WEXITSTATUS(status), 0);   // 77: not allowed to become anybody
#endif
}
#endif

// ---- the clock jumps -------------------------------------------------------------------------

enum { SLEEPERS = 12 };
#define HOUR CRT_SEC(3600)
static const crt_duration naps[SLEEPERS] = {
    CRT_MS(1), CRT_MS(50), CRT_SEC(1), CRT_SEC(59), HOUR, HOUR + CRT_MS(1), 24 * HOUR,
    CRT_MS((1ll << 30) - 1), CRT_MS(1ll << 30),
    CRT_MS((1ll << 36) - 1), CRT_MS(1ll << 36), CRT_MS((1ll << 36) + 5)};
static int woken[SLEEPERS], order[SLEEPERS], wakes, early;   // atomic
typedef struct sleeper {
    crt_frame co;
    crt_instant begun, at;   // at: until then, instead of for naps[i]
    int i;
} sleeper;
static crt_poll sleeper_run(void *frame, crt_cx *cx)
{
    sleeper *self = frame;
    CRT_BEGIN(self, cx);
    self->begun = crt_now(cx);
    CRT_AWAIT(self->at ? crt_sleep_until(cx, self->at) : crt_sleep(cx, naps[self->i]));
    if (self->at ? crt_now(cx) < self->at : crt_now(cx) - self->begun < naps[self->i]) __atomic_fetch_add(&early, 1, __ATOMIC_SEQ_CST);
    {
        int n = __atomic_fetch_add(&wakes, 1, __ATOMIC_SEQ_CST);
        if (n < SLEEPERS) __atomic_store_n(&order[n], self->i, __ATOMIC_SEQ_CST);
        __atomic_fetch_add(&woken[self->i], 1, __ATOMIC_SEQ_CST);
    }
    CRT_END;
}
static void turns(crt_runtime *rt)
{
    for (int i = 0; i < 3; i++) CHECK(crt_runtime_turn(rt, 0) >= 0);
}
static crt_runtime *sleeping(int from, int to)
{
    crt_runtime *rt = runtime(0);
    crt_handle *h = crt_runtime_handle(rt);
    memset(woken, 0, sizeof woken);
    wakes = early = 0;
    for (int i = from; i < to; i++) CHECK_EQ(crt_handle_spawn(h, sleeper_run, &(sleeper){.i = i}), 0);
    crt_handle_drop(&h);
    CHECK_EQ(crt_runtime_turn(rt, 0), to - from);
    return rt;
}
static int awake(int from, int to)
{
    int n = 0;
    for (int i = from; i < to; i++) n += woken[i] == 1;
    return n;
}
// Forward, to each deadline and past it: who is due wakes, nobody else, nobody twice or early.
static void the_clock_jumps_forward(void)
{
    crt_runtime *rt = sleeping(3, SLEEPERS);   // from 59 s on: what this test itself takes is less
    crt_duration at = 0;
    for (int i = 3; i < SLEEPERS; i++) {
        jump(naps[i] - at - CRT_SEC(20) > 0 ? naps[i] - at - CRT_SEC(20) : 0);
        if (naps[i] - at > CRT_SEC(20)) at = naps[i] - CRT_SEC(20);
        int before = awake(3, SLEEPERS);
        turns(rt);
        CHECK(awake(3, SLEEPERS) - before <= 2);
        if (naps[i] - at == CRT_SEC(20)) CHECK_EQ(woken[i], 0);
    }
    jump(CRT_SEC(60));
    turns(rt);
    CHECK_EQ(awake(3, SLEEPERS), SLEEPERS - 3);
    CHECK_EQ(early, 0);
    for (int i = 3; i < SLEEPERS; i++) CHECK_EQ(order[i - 3], i);
    crt_runtime_drop(&rt);
    // All of it at once, and around 2^36 ms, where the wheel's last level ends.
    for (int64_t past = -2; past <= 2; past++) {
        rt = sleeping(0, SLEEPERS);
        jump(CRT_MS((1ll << 36) + past));
        turns(rt);
        CHECK(awake(0, 9) == 9 && awake(0, SLEEPERS) <= SLEEPERS && early == 0);
        jump(HOUR);
        turns(rt);
        CHECK_EQ(awake(0, SLEEPERS), SLEEPERS);
        CHECK_EQ(early, 0);
        crt_runtime_drop(&rt);
    }
}
// Backwards, which CLOCK_MONOTONIC promises never to do: nothing is early and nothing breaks.
// What waits, and what begins to wait meanwhile, is late by as much as it went back, at most.
static void the_clock_jumps_backwards(void)
{
    crt_runtime *rt = sleeping(1, 5);
    jump(2 * HOUR);
    turns(rt);
    CHECK_EQ(awake(1, 5), 4);
    crt_runtime_drop(&rt);
    rt = sleeping(4, 7);
    jump(CRT_SEC(1));
    turns(rt);
    jump(-HOUR);   // to before the runtime began
    turns(rt);
    CHECK_EQ(awake(4, 7), 0);
    CHECK(crt_runtime_next_deadline(rt) > HOUR);
    crt_handle *h = crt_runtime_handle(rt);
    CHECK_EQ(crt_handle_spawn(h, sleeper_run, &(sleeper){.i = 1}), 0);
    turns(rt);
    CHECK_EQ(woken[1], 0);
    CHECK(crt_runtime_next_deadline(rt) <= HOUR + CRT_MS(50));
    jump(HOUR + CRT_MS(50));
    turns(rt);
    CHECK_EQ(woken[1], 1);
    CHECK_EQ(awake(4, 7), 0);
    jump(26 * HOUR);
    turns(rt);
    CHECK_EQ(awake(4, 7), 3);
    for (int i = 0; i < 4; i++) CHECK_EQ(order[i], i ? i + 3 : 1);
    CHECK_EQ(early, 0);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}
// By a little, over and over, as two processors' counters might: 1 ms takes a few of them.
static void the_clock_is_unsteady(void)
{
    crt_runtime *rt = sleeping(1, 3);
    crt_handle *h = crt_runtime_handle(rt);
    for (int i = 0; i < 400; i++) {
        jump(i % 3 == 2 ? CRT_MS(9) : -CRT_MS(4));
        if (i % 20 == 0) CHECK_EQ(crt_handle_spawn(h, sleeper_run, &(sleeper){.i = 0}), 0);
        CHECK(crt_runtime_turn(rt, 0) >= 0);
    }
    jump(CRT_SEC(1));
    turns(rt);
    CHECK(woken[0] == 20 && woken[1] == 1 && woken[2] == 1);
    CHECK_EQ(early, 0);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}
// Between two lines, where one look says that it is too early and the next that it is time.
typedef struct narrow {
    crt_frame co;
    crt_delay_queue q;
    crt_delay first, second, *due;
    crt_instant begun;
    crt_poll r;
} narrow;
static crt_poll narrow_run(void *frame, crt_cx *cx)
{
    narrow *self = frame;
    CRT_BEGIN(self, cx);
    // The wheel has been served at a time that is to come again.
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    jump(-CRT_SEC(1));
    jump_then = CRT_SEC(2);
    self->begun = crt_now(cx);
    looks_left = 2;   // the first says when that is, the second that the wheel is right
    CRT_AWAIT(self->r = crt_sleep(cx, CRT_MS(50)));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(looks_left, 0);
    CHECK(crt_now(cx) - self->begun >= CRT_MS(50));
    // The same for a delay queue's, which waits until the clock is there.
    CHECK_EQ(crt_delay_insert(cx, &self->q, &self->first, CRT_MS(1)), 0);
    CRT_AWAIT(self->r = crt_delay_next(cx, &self->q, &self->due));
    CHECK(self->r == 0 && self->due == &self->first);
    jump(-CRT_MS(20));
    self->begun = crt_now(cx);
    CHECK_EQ(crt_delay_insert(cx, &self->q, &self->second, CRT_MS(2)), 0);
    CRT_AWAIT(self->r = crt_delay_next(cx, &self->q, &self->due));
    CHECK(self->r == 0 && self->due == &self->second);
    CHECK(crt_now(cx) - self->begun >= CRT_MS(2));
    // Not due when the queue looks, due when its timer does.
    CHECK_EQ(crt_delay_insert(cx, &self->q, &self->first, HOUR), 0);
    jump_then = 2 * HOUR;
    looks_left = 2;
    CHECK_EQ(crt_delay_next(cx, &self->q, &self->due), 0);
    CHECK(looks_left == 0 && self->due == &self->first);
    CRT_FINALLY
        crt_delay_queue_drop(&self->q);
    CRT_END;
}
static void the_clock_jumps_between_two_looks(void)
{
    crt_runtime *rt = runtime(0);
    narrow frame = {.r = 0};
    CHECK_EQ(crt_block_on(rt, narrow_run, &frame), 0);
    crt_runtime_drop(&rt);
}
// Under workers that sleep in the kernel meanwhile: whoever looks next sees it.
static void jumps_under_workers(void)
{
    crt_runtime *rt = runtime(2);
    crt_handle *h = crt_runtime_handle(rt);
    crt_join_handle *join[3], *nudge, *behind;
    memset(woken, 0, sizeof woken);
    wakes = early = 0;
    crt_instant at = crt__rt_now(rt) + HOUR;   // whenever they come to look
    for (int i = 0; i < 3; i++)
        CHECK_EQ(crt_handle_spawn_join(h, &join[i], sleeper_run, &(sleeper){.at = at}), 0);
    for (int i = 0; i < 20; i++) {
        jump(-10 * HOUR);
        CHECK_EQ(crt_handle_spawn_join(h, &behind, sleeper_run, &(sleeper){.i = 0}), 0);
        if (i % 2) test_pause_us(500);   // it may wait already
        jump(10 * HOUR + CRT_SEC(100));
        crt__nap();   // 50 us of the system's clock, not of this one
        CHECK_EQ(crt_handle_spawn_join(h, &nudge, sleeper_run, &(sleeper){.i = 0}), 0);
        CHECK_EQ(crt_join_blocking(&nudge, NULL), 0);
        CHECK_EQ(crt_join_blocking(&behind, NULL), 0);
    }
    for (int i = 0; i < 3; i++) CHECK(!crt_is_finished(join[i]));   // 2,000 of 3,600 seconds
    jump(HOUR);
    CHECK_EQ(crt_handle_spawn_join(h, &nudge, sleeper_run, &(sleeper){.i = 0}), 0);
    CHECK_EQ(crt_join_blocking(&nudge, NULL), 0);
    for (int i = 0; i < 3; i++) CHECK_EQ(crt_join_blocking(&join[i], NULL), 0);
    CHECK_EQ(early, 0);
    crt_handle_drop(&h);
    CHECK_EQ(crt_runtime_shutdown(rt, CRT_SEC(10)), 0);
    crt_runtime_drop(&rt);
}

// ---- peers that stall, reset, or speak a byte at a time -----------------------------------------

typedef struct peers {
    crt_frame co;
    crt_listener *l;
    crt_stream *s;
    crt_addr addr;
    crt_timer timer;
    crt_reader in;
    CRT_SELECT(2) both;
    crt_frame slow;
    crt_poll r, k;
    char *line;
    int fd, i;
    char buf[1 << 16];
} peers;
static int plain_connect(const crt_addr *to)
{
    int fd = socket(AF_INET, SOCK_STREAM | TEST_CLOEXEC, 0);
    CHECK_EQ(connect(fd, (const struct sockaddr *)(const void *)to->u.bytes, to->len), 0);
    return fd;
}
static void reset(int fd)
{
    struct linger hard = {1, 0};
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
    CHECK_EQ(close(fd), 0);
}
static crt_poll byte_by_byte(peers *self, crt_cx *cx)
{
    static const char text[] = "one line\r\nand another";
    CRT_BEGIN(&self->slow, cx);
    for (self->i = 0; text[self->i]; self->i++) {
        CHECK_EQ(write(self->fd, text + self->i, 1), 1);
        CRT_AWAIT(self->k = crt_sleep(cx, CRT_US(100)));
    }
    reset(self->fd);   // in the middle of a line
    CRT_END;
}
#define MEET                                                            \
    self->fd = plain_connect(&self->addr);                              \
    CRT_AWAIT(self->r = crt_accept(cx, self->l, &self->s, NULL));       \
    CHECK_EQ(self->r, 0)
static crt_poll peers_run(void *frame, crt_cx *cx)
{
    peers *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    CHECK_EQ(crt_local_addr(self->l, &self->addr), 0);
    // Stalls: it says nothing, then it reads nothing.
    MEET;
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_read(cx, self->s, self->buf, 9)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    do
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(20),
            crt_write_all(cx, self->s, self->buf, sizeof self->buf)));
    while (self->r > 0);
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    // Resets: under a read, and then each call says so and raises no SIGPIPE.
    reset(self->fd);
    CRT_AWAIT(self->r = crt_read(cx, self->s, self->buf, 9));
    CHECK_EQ(self->r, -ECONNRESET);
    CRT_AWAIT(self->r = crt_write_all(cx, self->s, self->buf, 9));
#ifdef _WIN32
    CHECK_EQ(self->r, -ECONNRESET);
#else
    CHECK_EQ(self->r, -EPIPE);
#endif
    crt_close(&self->s);
    // Resets before it was accepted: the next is served.
    reset(plain_connect(&self->addr));
    MEET;
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(200), crt_read(cx, self->s, self->buf, 9)));
    CHECK(self->r == -ECONNRESET || self->r == CRT_ETIMEDOUT);
    if (self->r == -ECONNRESET) {   // that was the one; Linux hands it out all the same
        crt_close(&self->s);
        CRT_AWAIT(self->r = crt_accept(cx, self->l, &self->s, NULL));
        CHECK_EQ(self->r, 0);
    }
    // A byte at a time, and a reset before the end of a line.
    crt_reader_init(&self->in, self->s, NULL, 0);
    CRT_AWAIT(crt_join_all(cx, &self->both,
        crt_on(cx, 0, byte_by_byte(self, cx)),
        crt_on(cx, 1, self->r = crt_reader_read_line(cx, &self->in, 0, &self->line))));
    CHECK(self->r == 8 && !strcmp(self->line, "one line"));
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 0, &self->line));
    CHECK_EQ(self->r, -ECONNRESET);
    CHECK(crt_reader_buffered(&self->in) <= 11);
    CHECK(!memcmp(crt_reader_data(&self->in), "and another", crt_reader_buffered(&self->in)));
    CRT_FINALLY
        crt_reader_drop(&self->in);
        crt_close(&self->s);
        crt_close(&self->l);
    CRT_END;
}
static void peers_that_misbehave(void)
{
    for (int workers = 0; workers <= 2; workers += 2) {
        int fds = test_fd_count();
        peers *frame = calloc(1, sizeof *frame);
        crt_runtime *rt = runtime(workers);
        CHECK_EQ(crt_block_on(rt, peers_run, frame), 0);
        crt_runtime_drop(&rt);
        free(frame);
        CHECK_EQ(test_fd_count(), fds);
    }
}

int main(int argc, char **argv)
{
    (void)test__on_each;
    test_init(argc, argv);
#ifndef _WIN32   // first those that fork before there is a thread
    TEST(descriptors_run_out);
    TEST(the_limit_of_threads_is_met);
#endif
    TEST(no_thread_can_be_started);
    TEST(a_program_without_threads);
    TEST(the_clock_jumps_forward);
    TEST(the_clock_jumps_backwards);
    TEST(the_clock_is_unsteady);
    TEST(the_clock_jumps_between_two_looks);
    TEST(jumps_under_workers);
    TEST(peers_that_misbehave);
    return test_end();
}
