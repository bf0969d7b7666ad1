// Bugs that others have had, so that they are not ours. A test's name says whose it was;
// where a model or another test covers it, the table says which, and what was planted there
// to see that it would fail. ("Seed": the seeded bug of that model. "sim": tests/sim.sh.)
//
//   tokio 7589, 7622  a wake of a task that is queued already must publish    model_task: seed crt__task_notify RELAX
//   tokio 7450        a plain store ends the release sequence of the state    model_task: seed crt__run_task SPLIT
//   tokio 4225        oneshot: both halves touch the value at once            model_channels: seeds crt__oneshot_end
//   tokio 7232        broadcast: two receivers copy one value at once         model_broadcast: seed crt__lock 3; here: broadcast_7232
//   tokio 6369, mio 1760  an event after deregistration                       go_59545_..., here; model_io: seed crt__ready_reset
//   Go 59545, PR 81037    a stale event reaches the next owner                go_59545_..., here
//   tokio 6133, 8331, 8054  the tick of readiness cut short, or shared        tokio_6133_..., here; model_io: seeds crt__ready_clear
//   tokio 6682        an earlier timer while the driver goes to sleep         model_timer: seeds crt__timers_announce, crt__driver_wait
//   tokio 8334        the top slot of the wheel wraps                         test_wheel, fuzz_wheel; sim: "a timer at the end of a level"
//   tokio 684, 3619, rust 86470  the clock steps back                         rust_86470_..., here
//   tokio 5686, 5712  the LIFO slot starves the others                        test_scheduler: two_tasks_in_the_lifo_slot_...
//   Go PR 51651       the network is not looked at under load                 go_51651_..., here; test_scheduler: check_drivers
//   libuv (joyent) 690, 315, bun 32705  accept spins when out of descriptors  test_net: accept_waits_for_descriptors_without_spinning
//   libuv (joyent) 1099, 1148, 4323  a duplicate keeps the registration       libuv_1099_..., here
//   libuv (joyent) 826, 968  closed and opened again in one batch             go_59545_..., here
//   libuv 50, 189, 349, 2226, 5079  a wake from outside is lost, or comes late   model_park: seeds crt__unpark; model_runtime; sim: "a wake from outside"
//   crossbeam RUSTSEC-2021-0093, 2022-0029  a batch is stolen and popped      model_queue: seeds crt__ring_steal, crt__ring_pop; indices that wrap
//   tokio 8056, 8406, 7910  blocking pool: lost notify, orphan, double count  model_pool: all seeds; test_blocking: a_job_that_relied_on_...
//   tokio 3652, 4618, 5396, 8260  a cancelled waiter keeps the notification   fuzz_channels; model_sync: seed crt__notify_single; test_notify
//   glibc 25847       a condition variable's signal is stolen                 glibc_25847_..., here: there is none
//   mio 958, 1087, bun 37076  EV_EOF of one filter read as that of the other  test_io: half_close; test_sockets: half_closed; kqueue alike
//   wepoll 35, libuv 5216, mio 1304  polls of AFD mixed up                    crt_platform_iocp.h: a status block of its own for each poll; test_anywhere, under wine
//   tokio 3929        an abort drops the task on the wrong thread             tokio_3929_..., here
//   tokio 7983, 6329  a descriptor leaks when registration fails              test_socket_faults; sim: "an abandoned connect stays open"
//   Go 22606          -errno of a failed epoll_create used as a descriptor    go_22606_..., here
//   tokio 2924        a resource registered during shutdown hangs             tokio_2924_..., here; model_io: shutdown against a wait and an event
//   async-executor 103  two stores of wakers disagree                         one word: model_task, all seeds; model_park: two threads in block_on
//   tokio 5578, 5471, 5475  user code called under a lock                     tokio_5578_..., here
//   libuv: zero time-outs starve I/O                                          libuv_a_zero_timeout_..., here
//   mio: time-outs over 24.8 days                                             mio_a_timeout_over_24_days_..., here
//   tokio 7494        a spurious wake of a pidfd                              tokio_7494_..., here

// A clock that steps, and a look at what epoll is asked.
#if defined(__linux__) && !defined(CRT_PLATFORM_HEADER) && !defined(CRT_PLATFORM_KQUEUE)
#define KNOWN_EPOLL 1
#include <sys/epoll.h>
#endif
#include <time.h>
static long long clock_step;   // ns; atomic
__attribute__((unused)) static int known_clock_gettime(clockid_t id, struct timespec *t)
{
    int r = clock_gettime(id, t);
    long long now = (long long)t->tv_sec * 1000000000 + t->tv_nsec + __atomic_load_n(&clock_step, __ATOMIC_RELAXED);
    t->tv_sec = (time_t)(now / 1000000000);
    t->tv_nsec = (long)(now % 1000000000);
    return r;
}
#ifdef KNOWN_EPOLL
static int asked_ms, ask_only;
static int known_epoll_wait(int epoll, struct epoll_event *events, int most, int ms)
{
    asked_ms = ms;
    return ask_only ? 0 : epoll_wait(epoll, events, most, ms);
}
#define epoll_wait known_epoll_wait
#endif
#ifndef _WIN32   // whose clock is a counter that does not step
#define clock_gettime known_clock_gettime
#endif
#if defined(CRT_PLATFORM_KQUEUE) || defined(__NetBSD__)   // the kernel, which waits, knows nothing of the steps
#include <pthread.h>
__attribute__((unused)) static int known_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until)
{
    long long at = (long long)until->tv_sec * 1000000000 + until->tv_nsec - __atomic_load_n(&clock_step, __ATOMIC_RELAXED);
    struct timespec t = {(time_t)(at / 1000000000), (long)(at % 1000000000)};
    return pthread_cond_timedwait(cond, lock, &t);
}
#define pthread_cond_timedwait known_cond_timedwait
#endif
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

#include <dirent.h>
#ifndef _WIN32
#include <sys/resource.h>
#endif

__attribute__((unused)) static int fd_count(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d)) n++;
    if (d) closedir(d);
    return n;
}
typedef struct root {
    crt_frame co;
    crt_stream *a, *b, *c, *d;
    crt_join_handle *join;
    CRT_SELECT(2) sel;
    crt_poll r, n, w;
    crt_instant begun;
    uint64_t token;
    intptr_t fd, result;
    int i, twin;
    char buf[64];
    crt_process *p;
    crt_exit_status status;
    crt_local_set set;
} root;
static void run(crt_runtime *rt, crt_fn fn)
{
    root *self = calloc(1, sizeof *self);
    CHECK_EQ(crt_block_on(rt, fn, self), 0);
    free(self);
}
static crt__sock *sock_of(crt_stream *s) { return (crt__sock *)s; }

// ---- descriptors that change hands

static crt_poll stale_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    self->fd = crt_stream_fd(self->a);
    self->token = crt__sock_token(sock_of(self->a));
    CHECK_EQ(crt_try_read(self->a, self->buf, 1), CRT_EAGAIN);
    crt_close(&self->a);   // an event of it is under way
    CHECK_EQ(crt_stream_pair(cx, &self->c, &self->d), 0);
#ifndef _WIN32   // which hands out another number
    CHECK_EQ(crt_stream_fd(self->c), self->fd);   // number and record are used again
#endif
    CHECK_EQ(sock_of(self->c)->index, (uint32_t)self->token);
    CHECK(crt__sock_token(sock_of(self->c)) != self->token);
    CHECK_EQ(crt_try_read(self->c, self->buf, 1), CRT_EAGAIN);
    // It arrives, with every bit there is, in the batch in which the new owner lives.
    CHECK(!crt__sock_event(cx->rt, self->token, CRT__READABLE | CRT__READ_CLOSED | CRT__WRITE_CLOSED | CRT__IO_ERROR));
    // Also those whose numbers differ in one bit only.
    for (int bit = 32; bit < 64; bit++)
        CHECK(!crt__sock_event(cx->rt, crt__sock_token(sock_of(self->c)) ^ (uint64_t)1 << bit, CRT__READ_CLOSED));
    CRT_AWAIT(self->w = crt_select(cx, &self->sel, crt_on(cx, 0, self->n = crt_read(cx, self->c, self->buf, 1)),
                                   crt_on(cx, 1, crt_sleep(cx, CRT_MS(2)))));
    CHECK_EQ(self->w, 1);
    CHECK_EQ(crt_try_write(self->d, "x", 1), 1);
    CRT_AWAIT(self->n = crt_read(cx, self->c, self->buf, 2));
    CHECK_EQ(self->n, 1);
    CRT_FINALLY
        crt_close(&self->a);
        crt_close(&self->b);
        crt_close(&self->c);
        crt_close(&self->d);
    CRT_END;
}
static void go_59545_stale_event_after_reuse(crt_runtime *rt) { run(rt, stale_run); }

static crt_poll tick_run(void *frame, crt_cx *cx)
{
    // 65,536 events between a system call and what is made of its result would bring the
    // 16-bit tick round: each needs a wait of the driver, the call a moment.
    static const int counts[] = {1, 2, 255, 256, 257, 32767, 32768, 65000};
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        crt__sock *s = sock_of(self->a);
        uint64_t seen = crt__atomic_load(&s->ready, CRT__ACQUIRE);
        for (int k = 0; k < counts[i]; k++) CHECK(crt__sock_event(cx->rt, crt__sock_token(s), k % 2 ? CRT__READABLE : CRT__WRITABLE));
        crt__ready_clear(s, seen, CRT__READABLE | CRT__WRITABLE);
        CHECK(crt__atomic_load(&s->ready, CRT__ACQUIRE) & CRT__WRITABLE);   // the newer edges stay
        // An event of the other direction only puts a clear off until the next try.
        seen = crt__atomic_load(&s->ready, CRT__ACQUIRE);
        crt__ready_clear(s, seen, CRT__READABLE);
        CHECK(!(crt__atomic_load(&s->ready, CRT__ACQUIRE) & CRT__READABLE));
    }
    CRT_FINALLY
        crt_close(&self->a);
        crt_close(&self->b);
    CRT_END;
}
static void tokio_6133_the_tick_of_readiness(crt_runtime *rt) { run(rt, tick_run); }

#ifndef _WIN32   // duplicates and limits of descriptors are POSIX's
static void *writes_for_a_while(void *fd)
{
    for (int i = 0; i < 20; i++) {
        ssize_t n = write((int)(intptr_t)fd, "x", 1);
        (void)n;
        test_pause_us(500);
    }
    return NULL;
}
static pthread_t writer;
static crt_poll dup_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | TEST_CLOEXEC, 0, pair), 0);
    CHECK_EQ(crt_stream_from_fd(cx, pair[0], CRT_FD_OWN, &self->a), 0);
    self->twin = dup(pair[0]);
    self->fd = pair[1];
    crt_close(&self->a);   // its description lives on, in the twin
    crt_runtime_metrics m;
    CHECK_EQ(pthread_create(&writer, NULL, writes_for_a_while, (void *)self->fd), 0);
    CHECK_EQ(crt_metrics(cx->rt, &m), 0);
    self->token = m.worker_park_count + m.worker_noop_count;
    CRT_AWAIT(crt_sleep(cx, CRT_MS(60)));
    CHECK_EQ(crt_metrics(cx->rt, &m), 0);
    CHECK(m.worker_park_count + m.worker_noop_count - self->token < 12);   // 20 if the driver heard of it
    pthread_join(writer, NULL);
    close(self->twin);
    close((int)self->fd);
    CRT_END;
}
static void libuv_1099_a_duplicate_keeps_no_registration(void)
{
    crt_runtime *rt;
    crt_config c = {.flavor = CRT_CURRENT_THREAD};
    signal(SIGPIPE, SIG_IGN);
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    run(rt, dup_run);
    crt_runtime_drop(&rt);
}

static void go_22606_a_failed_reactor_is_no_descriptor(void)
{
    struct rlimit was, few;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &was), 0);
    int before = fd_count(), built = 0;
    int open_now = dup(0);   // the lowest free number
    close(open_now);
    for (int room = 0; room < 3; room++)
        for (int kind = 0; kind < 2; kind++) {
            crt_runtime *rt = (crt_runtime *)(uintptr_t)16;
            crt_config c = {.flavor = kind ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD, .worker_threads = kind ? 2 : 0, .log.func = test_log};
            few = was;
            few.rlim_cur = (rlim_t)(open_now + room);
            CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
            int e = crt_runtime_new(&c, &rt);
            CHECK_EQ(setrlimit(RLIMIT_NOFILE, &was), 0);
            CHECK(e == 0 || (e == -EMFILE && rt == NULL));
            built += e == 0;
            if (e == 0) crt_runtime_drop(&rt);
            CHECK_EQ(fd_count(), before);
        }
#ifdef KNOWN_EPOLL
    CHECK_EQ(built, 2);   // with room for both
#endif
    CHECK(built < 6);
}

#endif

// ---- clocks

#ifndef _WIN32
static void *steps_forward(void *unused)
{
    (void)unused;
    // What waits for the clock to get there again, waits no longer than that.
    for (int i = 0; i < 40; i++) {
        test_pause_us(5000);
        __atomic_fetch_add(&clock_step, CRT_SEC(100), __ATOMIC_RELAXED);
    }
    return NULL;
}
static pthread_t stepper;
static crt_poll stepping_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    // Back by a second: a new timer is neither early nor forgotten.
    __atomic_fetch_add(&clock_step, CRT_SEC(1), __ATOMIC_RELAXED);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    __atomic_fetch_sub(&clock_step, CRT_SEC(1), __ATOMIC_RELAXED);
    self->begun = crt_now(cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
    CHECK(crt_now(cx) - self->begun >= CRT_MS(5));
    // Back by an hour: the same, as soon as the clock is there again.
    __atomic_fetch_add(&clock_step, CRT_SEC(3600), __ATOMIC_RELAXED);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    __atomic_fetch_sub(&clock_step, CRT_SEC(3600), __ATOMIC_RELAXED);
    self->begun = crt_now(cx);
    CRT_AWAIT(self->w = crt_select(cx, &self->sel, crt_on(cx, 0, crt_sleep(cx, CRT_MS(5))), crt_on(cx, 1, crt_yield_now(cx))));
    CHECK_EQ(self->w, 1);
    CHECK_EQ(pthread_create(&stepper, NULL, steps_forward, NULL), 0);
    // Something else wakes the driver now and then, as in any program.
    while (crt_now(cx) - self->begun < CRT_SEC(3700)) CRT_YIELD();
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    pthread_join(stepper, NULL);
    CRT_END;
}
static void rust_86470_the_clock_steps_back(crt_runtime *rt) { run(rt, stepping_run); }
#endif

static void mio_a_timeout_over_24_days_is_no_other_one(void)
{
#ifdef KNOWN_EPOLL
    crt_runtime *rt;
    crt_config c = {.flavor = CRT_CURRENT_THREAD};
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    rt->reactor->no_pwait2 = true;   // a kernel that takes milliseconds, in an int
    ask_only = 1;
    static const struct { int64_t ns; int ms; } asks[] = {
        {-1, -1}, {0, 0}, {1, 1}, {1000000, 1}, {1000001, 2}, {CRT_SEC(86400) * 24, 2073600000},
        {CRT_SEC(86400) * 25, INT_MAX}, {CRT_SEC(86400) * 60, INT_MAX}, {INT64_MAX, INT_MAX},
    };
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
        CHECK_EQ(crt__epoll_wait(rt->reactor, asks[i].ns), 0);
        CHECK_EQ(asked_ms, asks[i].ms);
    }
    ask_only = 0;
    crt_runtime_drop(&rt);
#endif
}

// ---- who gets a turn

static int zero_stop;
static crt_poll zero_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    while (!__atomic_load_n(&zero_stop, __ATOMIC_RELAXED)) CRT_AWAIT(crt_sleep(cx, 0));
    CRT_END;
}
static crt_poll starved_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    __atomic_store_n(&zero_stop, 0, __ATOMIC_RELAXED);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    CHECK_EQ(crt_spawn_join(cx, &self->join, zero_run, &(root){.i = 0}), 0);
    for (self->i = 0; self->i < 20; self->i++) {
        CHECK_EQ(crt_try_write(self->b, "x", 1), 1);
        CRT_AWAIT(self->n = crt_read(cx, self->a, self->buf, 1));
        CHECK_EQ(self->n, 1);
        CRT_AWAIT(crt_sleep(cx, CRT_US(100)));
    }
    __atomic_store_n(&zero_stop, 1, __ATOMIC_RELAXED);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CRT_FINALLY
        crt_close(&self->a);
        crt_close(&self->b);
    CRT_END;
}
static void libuv_a_zero_timeout_starves_nobody(crt_runtime *rt) { run(rt, starved_run); }

// Tasks that are always ready, more than a batch of them: the network is seen all the same.
static crt_poll busy_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    while (!__atomic_load_n(&zero_stop, __ATOMIC_RELAXED)) CRT_YIELD();
    CRT_END;
}
static crt_poll loaded_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    __atomic_store_n(&zero_stop, 0, __ATOMIC_RELAXED);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    for (int i = 0; i < 500; i++) CHECK_EQ(crt_spawn(cx, busy_run, &(root){.i = 0}), 0);
    for (self->i = 0; self->i < 50; self->i++) {
        CHECK_EQ(crt_try_write(self->b, "x", 1), 1);
        CRT_AWAIT(self->n = crt_read(cx, self->a, self->buf, 1));
        CHECK_EQ(self->n, 1);
    }
    __atomic_store_n(&zero_stop, 1, __ATOMIC_RELAXED);
    CRT_FINALLY
        crt_close(&self->a);
        crt_close(&self->b);
    CRT_END;
}
static void go_51651_the_network_is_seen_under_load(crt_runtime *rt) { run(rt, loaded_run); }

// ---- ends

typedef struct local {
    crt_frame co;
    uint64_t thread;
    uint64_t *cleaned_on;
} local;
static crt_poll local_run(void *frame, crt_cx *cx)
{
    local *self = frame;
    CRT_BEGIN(self, cx);
    self->thread = (uint64_t)(uintptr_t)pthread_self();
    CRT_AWAIT(crt_sleep(cx, CRT_FOREVER));
    CRT_FINALLY
        if (self->thread) CHECK_EQ((uint64_t)(uintptr_t)pthread_self(), self->thread);
        __atomic_fetch_add(self->cleaned_on, 1, __ATOMIC_RELAXED);
    CRT_END;
}
static void *aborts(void *join)
{
    test_pause_us(1000);
    crt_abort(join);
    return NULL;
}
static crt_poll wrong_thread_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    static uint64_t cleaned;
    CRT_BEGIN(self, cx);
    cleaned = 0;
    for (self->i = 0; self->i < 20; self->i++) {
        CHECK_EQ(crt_local_set_spawn_join(cx, &self->set, &self->join, local_run, &(local){.cleaned_on = &cleaned}), 0);
        if (self->i % 2) CRT_YIELD();
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, NULL, aborts, self->join), 0);
        pthread_join(thread, NULL);
        CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
        CHECK_EQ(self->r, CRT_ECANCELED);
    }
    CRT_AWAIT(crt_local_set_join(cx, &self->set));
    CHECK_EQ(__atomic_load_n(&cleaned, __ATOMIC_RELAXED), 20);
    CRT_END;
}
static void tokio_3929_an_abort_cleans_up_on_the_right_thread(crt_runtime *rt) { run(rt, wrong_thread_run); }

// A cleanup that opens something and waits for it, while the runtime ends. The task is ended
// by force in that wait: what it opened lies where it can be closed afterwards.
static crt_stream *late_a, *late_b;
static crt_poll late_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_FOREVER));
    CRT_FINALLY
        self->r = crt_stream_pair(cx, &late_a, &late_b);
        CHECK(self->r == 0 || self->r == CRT_ESHUTDOWN);
        if (self->r == 0) CRT_AWAIT(self->n = crt_read(cx, late_a, self->buf, 1));   // nobody writes
    CRT_END;
}
static void tokio_2924_a_resource_registered_during_shutdown(void)
{
    for (int kind = 0; kind < 2; kind++) {
        crt_runtime *rt;
        crt_config c = {.flavor = kind ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD, .worker_threads = kind ? 2 : 0, .log.func = test_log};
        CHECK_EQ(crt_runtime_new(&c, &rt), 0);
        crt_handle *h = crt_runtime_handle(rt);
        crt_join_handle *join;
        CHECK_EQ(crt_handle_spawn_join(h, &join, late_run, &(root){.i = 0}), 0);
        if (!kind) CHECK(crt_runtime_turn(rt, 0) == 1);
        CHECK(crt_runtime_shutdown(rt, CRT_MS(30)) <= 1);   // returns, and says what it left
        (void)crt_join_blocking(&join, NULL);               // a late worker is done with what follows
        crt_close(&late_a);
        crt_close(&late_b);
        crt_handle_drop(&h);
        crt_runtime_drop(&rt);
    }
}

// What a user's callback does while a channel lets go of values: send, spawn, wake.
static crt_mpsc_tx *other_tx;
static crt_handle *other_handle;
static int told;
static crt_poll told_run(void *frame, crt_cx *cx)
{
    (void)frame;
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    __atomic_fetch_add(&told, 1, __ATOMIC_SEQ_CST);
    return 0;
}
static void tell_both(void *elem, void *user)
{
    int frame = 0;
    (void)user;
    CHECK_EQ(crt_mpsc_try_send(other_tx, elem), 0);
    CHECK_EQ(crt_handle_spawn(other_handle, told_run, &frame), 0);
}
typedef struct reenter {
    crt_frame co;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx, *other_rx;
    int i, value;
    crt_poll r;
} reenter;
static crt_poll reenter_run(void *frame, crt_cx *cx)
{
    reenter *self = frame;
    CRT_BEGIN(self, cx);
    told = 0;
    other_handle = crt_handle_current();
    CHECK_EQ(crt_mpsc_new(sizeof(int), 0, &self->tx, &self->rx), 0);
    CHECK_EQ(crt_mpsc_new(sizeof(int), 0, &other_tx, &self->other_rx), 0);
    crt_mpsc_on_drop(self->rx, tell_both, NULL);
    for (int i = 0; i < 10; i++) CHECK_EQ(crt_mpsc_try_send(self->tx, &i), 0);
    crt_mpsc_rx_drop(&self->rx);   // ten callbacks, each of which sends and spawns
    for (self->i = 0; self->i < 10; self->i++) {
        CRT_AWAIT(self->r = crt_mpsc_recv(cx, self->other_rx, &self->value));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(self->value, self->i);
    }
    while (__atomic_load_n(&told, __ATOMIC_SEQ_CST) < 10) CRT_YIELD();
    CRT_FINALLY
        crt_mpsc_tx_drop(&self->tx);
        crt_mpsc_tx_drop(&other_tx);
        crt_mpsc_rx_drop(&self->rx);
        crt_mpsc_rx_drop(&self->other_rx);
        crt_handle_drop(&other_handle);
    CRT_END;
}
static void tokio_5578_a_callback_may_come_back(crt_runtime *rt)
{
    reenter frame = {.i = 0};
    CHECK_EQ(crt_block_on(rt, reenter_run, &frame), 0);
}

// ---- values shared by receivers

// Each copy is changed by whoever got it: under the lock, so that copies do not meet.
static int clone_depth, clones;
static void changing_clone(void *copy, void *user)
{
    (void)user;
    CHECK_EQ(__atomic_fetch_add(&clone_depth, 1, __ATOMIC_SEQ_CST), 0);
    (*(int *)copy)++;
    __atomic_fetch_add(&clones, 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_sub(&clone_depth, 1, __ATOMIC_SEQ_CST);
}
typedef struct copies {
    crt_frame co;
    crt_broadcast_tx *tx;
    crt_broadcast_rx *rx;
    crt_join_handle *join[8];
    int i, k, value;
    crt_poll r;
} copies;
static crt_poll copier_run(void *frame, crt_cx *cx)
{
    copies *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 100; self->i++) {
        CRT_AWAIT(self->r = crt_broadcast_recv(cx, self->rx, &self->value, NULL));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(self->value, self->i * 2 + 1);   // its own copy, changed once
    }
    CRT_FINALLY
        crt_broadcast_rx_drop(&self->rx);
    CRT_END;
}
static crt_poll copies_run(void *frame, crt_cx *cx)
{
    copies *self = frame;
    crt_elem_ops ops = {changing_clone, NULL, NULL};
    CRT_BEGIN(self, cx);
    clones = 0;
    CHECK_EQ(crt_broadcast_new(sizeof(int), 128, &self->tx), 0);
    crt_broadcast_set_ops(self->tx, &ops);
    for (self->i = 0; self->i < 8; self->i++) {
        copies c = {.i = 0};
        CHECK_EQ(crt_broadcast_subscribe(self->tx, &c.rx), 0);
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], copier_run, &c), 0);
    }
    for (self->k = 0; self->k < 100; self->k++) {
        self->value = self->k * 2;
        CHECK_EQ(crt_broadcast_send(self->tx, &self->value), 8);
        if (self->k % 10 == 0) CRT_YIELD();
    }
    for (self->i = 0; self->i < 8; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        CHECK_EQ(self->r, 0);
    }
    CHECK_EQ(clones, 800);
    CRT_FINALLY
        crt_broadcast_tx_drop(&self->tx);
    CRT_END;
}
static void tokio_7232_two_receivers_copy_one_value(crt_runtime *rt)
{
    copies frame = {.i = 0};
    CHECK_EQ(crt_block_on(rt, copies_run, &frame), 0);
}

// ---- children

static crt_poll child_run(void *frame, crt_cx *cx)
{
    root *self = frame;
#ifdef _WIN32
    static const char *const argv[] = {"cmd", "/c", "more", NULL};   // ends with its input
#else
    static const char *const argv[] = {"cat", NULL};
#endif
    static crt_stream *in;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_process_spawn(cx, &(crt_process_desc){.argv = argv, .in.kind = CRT_STDIO_PIPE, .out.kind = CRT_STDIO_NULL}, &self->p));
    CHECK_EQ(self->r, 0);
    if (self->r) CRT_RETURN(0);
    in = crt_process_take_stdin(self->p);
    for (self->i = 0; self->i < 20; self->i++) {
        // "It has ended", of every record there is: the child's is among them.
        for (uint32_t k = 0; k < cx->rt->sock_count; k++) {
            crt__sock *s = crt__sock_at(cx->rt, k);
            if (crt__atomic_load(&s->child, CRT__RELAXED)) crt__io_event(cx->rt, crt__sock_token(s), CRT__READABLE);
        }
        CRT_AWAIT(self->w = crt_select(cx, &self->sel, crt_on(cx, 0, self->r = crt_process_wait(cx, self->p, &self->status)),
                                       crt_on(cx, 1, crt_sleep(cx, CRT_US(200)))));
        CHECK_EQ(self->w, 1);
    }
    crt_close(&in);
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CHECK_EQ(self->r, 0);
    CHECK(crt_exit_ok(&self->status));
    CRT_FINALLY
        crt_close(&in);
        crt_close(&self->p);
    CRT_END;
}
static void tokio_7494_a_spurious_event_of_a_child(crt_runtime *rt) { run(rt, child_run); }

// ---- threads

// Threads wait on futex words of crt's own (model_park, model_sync); there is no condition
// variable whose signal could go astray.
static void glibc_25847_no_condition_variables(void)
{
    static const char *const files[] = {"crt.h", "crt_platform_epoll.h"};
    char path[512], line[512];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%.*s/../%s", (int)(strrchr(__FILE__, '/') - __FILE__), __FILE__, files[i]);
        FILE *f = fopen(path, "r");
        CHECK(f != NULL);
        while (f && fgets(line, sizeof line, f)) CHECK(!strstr(line, "pthread_cond_"));
        if (f) fclose(f);
    }
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST_ON_EACH(go_59545_stale_event_after_reuse);
    TEST_ON_EACH(tokio_6133_the_tick_of_readiness);
#ifndef _WIN32
    TEST(libuv_1099_a_duplicate_keeps_no_registration);
    TEST(go_22606_a_failed_reactor_is_no_descriptor);
    TEST_ON_EACH(rust_86470_the_clock_steps_back);
#endif
    TEST(mio_a_timeout_over_24_days_is_no_other_one);
    TEST_ON_EACH(libuv_a_zero_timeout_starves_nobody);
    TEST_ON_EACH(go_51651_the_network_is_seen_under_load);
    TEST_ON_EACH(tokio_3929_an_abort_cleans_up_on_the_right_thread);
    TEST(tokio_2924_a_resource_registered_during_shutdown);
    TEST_ON_EACH(tokio_5578_a_callback_may_come_back);
    TEST_ON_EACH(tokio_7232_two_receivers_copy_one_value);
    TEST_ON_EACH(tokio_7494_a_spurious_event_of_a_child);
    TEST(glibc_25847_no_condition_variables);
    return test_end();
}
