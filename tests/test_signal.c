// Signals that the process sends to itself: nothing lost between two calls, several at
// once are one, every listener in every runtime sees them.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#include "by_hand.h"

#define SHARED(x) __atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define SET(x, v) __atomic_store_n(&(x), (v), __ATOMIC_SEQ_CST)
#define ADD(x, v) __atomic_fetch_add(&(x), (v), __ATOMIC_SEQ_CST)

static int64_t real_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
#define WAIT_FOR(condition)                                                                \
    do {                                                                                   \
        int64_t until__ = real_now() + CRT_SEC(5);                                         \
        while (!(condition) && real_now() < until__) test_pause_us(300);                          \
        CHECK(condition);                                                                  \
    } while (0)

#ifdef _WIN32
static void raise_signal(int sig) { CHECK_EQ(raise(sig), 0); }
#define TEST_WINCH SIGBREAK
#else
#define TEST_WINCH SIGWINCH
static void raise_signal(int sig) { CHECK_EQ(kill(getpid(), sig), 0); }
#endif

// Two waits of one task for one signal share what the task has seen: the first that looks has it, the other waits on.
static bool was_woken(const crt_slot *slot)
{
    crt__lock(&crt__signals.lock);
    bool is = slot->state != CRT__WAIT_QUEUED;
    crt__unlock(&crt__signals.lock);
    return is;
}
BODY(two_waits_of_one_task)
{
    static const crt_task_local key = {"not a signal"};
    POLLS;
    CHECK_EQ(crt_task_local_set(cx, &key, &got, NULL), 0);
    CHECK_EQ(AT(s[2], crt_signal_recv(cx, SIGUSR2)), PENDING);
    for (int i = 0; i < 2; i++) CHECK_EQ(AT(s[i], crt_signal_recv(cx, SIGUSR1)), PENDING);
    for (int i = 0; i < 2; i++) {
        raise_signal(SIGUSR1);
        WAIT_FOR((crt__signal_wake(cx->rt), was_woken(&s[1])));
        CHECK_EQ(AT(s[i], crt_signal_recv(cx, SIGUSR1)), 0);
        if (i == 0) CHECK_EQ(AT(s[1], crt_signal_recv(cx, SIGUSR1)), PENDING);
    }
    CHECK_EQ(CANCEL(s[2], crt_signal_recv(cx, SIGUSR2)), UNWIND);
    CHECK(crt_task_local_get(cx, &key) == &got);
}

typedef struct frame {
    crt_frame co;
    int i, sig, number, most;
    crt_poll r, a, b;
    crt_join_handle *join[16], *one;
    CRT_SELECT(2) sel;
    crt_timer timer;
    crt_runtime *rt;
} frame;

// A sleep of 0 or more and a signal by hand: has one arrived within that time?
static crt_poll arrives(frame *self, crt_cx *cx, int sig, int ms)
{
    return crt_timeout(cx, &self->timer, CRT_MS(ms), crt_signal_recv(cx, sig));
}

static int ready, seen;   // atomic
static crt_poll once_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    // The first call installs the handler; only then may the signal come.
    CRT_AWAIT(self->r = arrives(self, cx, SIGUSR1, 0));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    for (self->i = 0; self->i < 20; self->i++) {
        raise_signal(SIGUSR1);
        CRT_AWAIT(self->r = arrives(self, cx, SIGUSR1, 2000));
        CHECK_EQ(self->r, 0);
    }
    CRT_AWAIT(self->r = arrives(self, cx, SIGUSR1, 5));   // and not a second time
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CRT_END;
}
static void a_signal_is_received_once(crt_runtime *rt)
{
    frame f = {.i = 0};
    CHECK_EQ(crt_block_on(rt, once_run, &f), 0);
}

static crt_poll between_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = arrives(self, cx, SIGUSR2, 0));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    for (self->i = 0; self->i < 5; self->i++) {
        raise_signal(SIGUSR2);   // nobody waits now
        CRT_AWAIT(crt_sleep(cx, CRT_MS(3)));
        CRT_AWAIT(self->r = arrives(self, cx, SIGUSR2, 2000));
        CHECK_EQ(self->r, 0);
    }
    for (int i = 0; i < 50; i++) raise_signal(SIGUSR2);   // many at once are one
    CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
    CRT_AWAIT(self->r = arrives(self, cx, SIGUSR2, 2000));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = arrives(self, cx, SIGUSR2, 5));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CRT_END;
}
static void between_two_calls_nothing_is_lost_and_several_are_one(crt_runtime *rt)
{
    frame f = {.i = 0};
    CHECK_EQ(crt_block_on(rt, between_run, &f), 0);
}

// Signals that were there before the first call are not for this task.
static crt_poll late_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = arrives(self, cx, SIGUSR1, 10));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CRT_END;
}
static crt_poll early_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = arrives(self, cx, SIGUSR1, 0));
    raise_signal(SIGUSR1);
    CRT_AWAIT(self->r = arrives(self, cx, SIGUSR1, 2000));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_spawn_join(cx, &self->one, late_run, &(frame){.i = 0}), 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->one, NULL));
    CHECK_EQ(self->r, 0);
    CRT_END;
}
static void a_new_listener_starts_from_now(crt_runtime *rt)
{
    frame f = {.i = 0};
    CHECK_EQ(crt_block_on(rt, early_run, &f), 0);
}
// Nor those that were raised while no runtime listened: no driver has counted them yet.
static void a_signal_between_two_runtimes_is_not_for_the_second(void)
{
    for (int i = 0; i < 2; i++) {
        crt_config c = {.flavor = CRT_CURRENT_THREAD};
        crt_runtime *rt;
        frame f = {.i = 0};
        CHECK_EQ(crt_runtime_new(&c, &rt), 0);
        CHECK_EQ(crt_block_on(rt, late_run, &f), 0);
        crt_runtime_drop(&rt);
        raise_signal(SIGUSR1);
        WAIT_FOR(crt__atomic_load(&crt__signals.raised[SIGUSR1], CRT__ACQUIRE));
    }
}

// Eight tasks listen; each sees each of ten signals.
static crt_poll listener_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = arrives(self, cx, self->sig, 0));
    ADD(ready, 1);
    for (self->i = 0; self->i < self->most; self->i++) {
        CRT_AWAIT(self->r = crt_signal_recv(cx, self->sig));
        CHECK_EQ(self->r, 0);
        ADD(seen, 1);
    }
    CRT_END;
}
static crt_poll listeners_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    SET(ready, 0);
    SET(seen, 0);
    for (self->i = 0; self->i < 8; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], listener_run, &(frame){.sig = SIGUSR1, .most = 10}), 0);
    while (SHARED(ready) < 8) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    for (self->number = 1; self->number <= 10; self->number++) {
        raise_signal(SIGUSR1);
        while (SHARED(seen) < 8 * self->number) CRT_AWAIT(crt_sleep(cx, CRT_US(200)));
        CHECK_EQ(SHARED(seen), 8 * self->number);
    }
    for (self->i = 0; self->i < 8; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        CHECK_EQ(self->r, 0);
    }
    CRT_END;
}
static void every_listener_sees_every_signal(crt_runtime *rt)
{
    frame f = {.i = 0};
    CHECK_EQ(crt_block_on(rt, listeners_run, &f), 0);
}

// Different numbers do not mix, also in one task.
static crt_poll two_numbers_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = arrives(self, cx, SIGUSR1, 0));
    CRT_AWAIT(self->r = arrives(self, cx, SIGUSR2, 0));
    CRT_AWAIT(self->r = arrives(self, cx, SIGHUP, 0));
    for (self->i = 0; self->i < 10; self->i++) {
        raise_signal(self->i % 2 ? SIGUSR1 : SIGUSR2);
        CRT_AWAIT(self->r = crt_select(cx, &self->sel,
            crt_on(cx, 0, self->a = crt_signal_recv(cx, SIGUSR2)),
            crt_on(cx, 1, self->b = crt_signal_recv(cx, SIGUSR1))));
        CHECK_EQ(self->r, self->i % 2);
    }
    // Both: one wins the select, the other is still there.
    raise_signal(SIGUSR1);
    raise_signal(SIGUSR2);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
    CRT_AWAIT(self->r = crt_select(cx, &self->sel,
        crt_on(cx, 0, self->a = crt_signal_recv(cx, SIGUSR2)),
        crt_on(cx, 1, self->b = crt_signal_recv(cx, SIGUSR1))));
    CRT_AWAIT(self->r = arrives(self, cx, self->r ? SIGUSR2 : SIGUSR1, 2000));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = arrives(self, cx, SIGHUP, 3));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CRT_END;
}
static void numbers_do_not_mix(crt_runtime *rt)
{
    frame f = {.i = 0};
    CHECK_EQ(crt_block_on(rt, two_numbers_run, &f), 0);
}

static crt_poll ctrl_c_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, 0, crt_ctrl_c(cx)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    raise_signal(SIGINT);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(2), crt_ctrl_c(cx)));
    CHECK_EQ(self->r, 0);
#ifdef SIGRTMIN
    CRT_AWAIT(self->r = arrives(self, cx, SIGRTMIN + 1, 0));   // a real-time signal
    raise_signal(SIGRTMIN + 1);
    CRT_AWAIT(self->r = arrives(self, cx, SIGRTMIN + 1, 2000));
    CHECK_EQ(self->r, 0);
#endif
    CRT_END;
}
static void ctrl_c_is_sigint(crt_runtime *rt)
{
    frame f = {.i = 0};
    CHECK_EQ(crt_block_on(rt, ctrl_c_run, &f), 0);
}

static crt_poll bad_run(void *f, crt_cx *cx)
{
    static const int bad[] = {0, -1, INT_MIN, INT_MAX, 65, 1000, SIGSEGV, SIGFPE, SIGILL,
#ifndef _WIN32
                              SIGKILL, SIGSTOP, SIGBUS
#endif
    };
    frame *self = f;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < (int)(sizeof bad / sizeof *bad); self->i++) {
        CRT_AWAIT(self->r = crt_signal_recv(cx, bad[self->i]));
        CHECK_EQ(self->r, CRT_EINVAL);
    }
    CRT_END;
}
static void numbers_that_cannot_be_caught_are_refused(crt_runtime *rt)
{
    frame f = {.i = 0};
    CHECK_EQ(crt_block_on(rt, bad_run, &f), 0);
}
static crt_poll no_driver_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_signal_recv(cx, TEST_WINCH));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    CRT_AWAIT(self->r = crt_ctrl_c(cx));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    CRT_END;
}
static void without_the_driver_it_says_so(void)
{
    static const unsigned drivers[] = {CRT_DRIVER_NONE, CRT_DRIVER_IO, CRT_DRIVER_TIME, CRT_DRIVER_IO | CRT_DRIVER_TIME};
    for (int flavor = 0; flavor < 2; flavor++)
        for (int i = 0; i < 4; i++) {
            crt_runtime *rt;
            frame f = {.i = 0};
            test_log_clear();
            CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = flavor, .worker_threads = 1, .drivers = drivers[i],
                                                   .log = {test_log, NULL, 0}}, &rt), 0);
            CHECK_EQ(crt_block_on(rt, no_driver_run, &f), 0);
            CHECK(test_log_has("CRT_DRIVER_SIGNAL"));
            crt_runtime_drop(&rt);
        }
#ifndef _WIN32
    struct sigaction sa;   // and has changed nothing
    CHECK_EQ(sigaction(SIGWINCH, NULL, &sa), 0);
    CHECK(sa.sa_handler == SIG_DFL);
#endif
}

// Listeners in two runtimes, of both flavours; then one of them ends.
static void *drive_main(void *arg)
{
    frame *f = arg;
    CHECK_EQ(crt_block_on(f->rt, listener_run, f), 0);
    return NULL;
}
static void two_runtimes_both_see_a_signal(crt_runtime *rt)
{
    for (int flavor = 0; flavor < 2; flavor++) {
        frame f = {.sig = SIGUSR1, .most = 10, .rt = rt}, g = {.sig = SIGUSR1, .most = 5};
        pthread_t a, b;
        CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = flavor, .worker_threads = flavor ? 1 : 2}, &g.rt), 0);
        SET(ready, 0);
        SET(seen, 0);
        pthread_create(&a, NULL, drive_main, &f);
        pthread_create(&b, NULL, drive_main, &g);
        WAIT_FOR(SHARED(ready) == 2);
        for (int i = 1; i <= 5; i++) {
            raise_signal(SIGUSR1);
            WAIT_FOR(SHARED(seen) == 2 * i);
        }
        pthread_join(b, NULL);
        crt_runtime_drop(&g.rt);
        for (int i = 1; i <= 5; i++) {   // the other goes on alone
            raise_signal(SIGUSR1);
            WAIT_FOR(SHARED(seen) == 10 + i);
        }
        pthread_join(a, NULL);
    }
}
// Nothing is left behind by listeners that are cancelled, or by their runtimes.
static int open_descriptors(void)
{
#ifdef _WIN32
    return 0;   // handles of the system come and go there; not counted
#else
    int n = 0;
    for (int fd = 0; fd < 256; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
#endif
}
static crt_poll aborted_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    SET(ready, 0);
    for (self->i = 0; self->i < 16; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], listener_run, &(frame){.sig = SIGUSR2, .most = 100}), 0);
    while (SHARED(ready) < 16) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    for (self->i = 0; self->i < 16; self->i += 2) crt_abort(self->join[self->i]);
    raise_signal(SIGUSR2);   // at the same time
    for (self->i = 0; self->i < 16; self->i += 2) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        CHECK_EQ(self->r, CRT_ECANCELED);
    }
    for (self->i = 1; self->i < 16; self->i += 2) crt_detach(&self->join[self->i]);   // end with the runtime
    CRT_END;
}
static void cancelled_listeners_and_ended_runtimes_leave_nothing(void)
{
    int before = 0;
    for (int i = 0; i < 10; i++) {
        crt_runtime *rt;
        frame f = {.i = 0};
        CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = i % 2, .worker_threads = i % 2 ? 1 : 4}, &rt), 0);
        CHECK_EQ(crt_block_on(rt, aborted_run, &f), 0);
        crt_runtime_drop(&rt);
        raise_signal(SIGUSR2);   // nobody listens: ignored
        if (i == 0) before = open_descriptors();
    }
    CHECK_EQ(open_descriptors(), before);
    CHECK(crt__signals.waiters == NULL);
}
// A burst from another thread while a task listens: at least one is seen after the last.
static int burst_seen, burst_raised;   // atomic
static void *burst_main(void *arg)
{
    while (!SHARED(ready)) test_pause_us(100);   // until then it might end the program
    for (int i = 0; i < 3000 || !SHARED(burst_seen); i++) {
        raise_signal(SIGUSR1);
        ADD(burst_raised, 1);
        if (i % 100 == 0) test_pause_us(100);
    }
    SET(*(int *)arg, 1);
    return NULL;
}
static int burst_over;   // atomic
static crt_poll burst_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = arrives(self, cx, SIGUSR1, 0));
    ADD(ready, 1);
    while (!SHARED(burst_over)) {
        CRT_AWAIT(self->r = arrives(self, cx, SIGUSR1, 500));
        self->number += self->r == 0;
        SET(burst_seen, self->number > 0);
    }
    raise_signal(SIGUSR1);
    CRT_AWAIT(self->r = arrives(self, cx, SIGUSR1, 2000));
    CHECK_EQ(self->r, 0);
    CHECK(self->number >= 1 && self->number <= SHARED(burst_raised));
    CRT_END;
}
static void a_burst_of_signals_does_no_harm(crt_runtime *rt)
{
    frame f = {.i = 0};
    pthread_t thread;
    SET(burst_over, 0);
    SET(burst_seen, 0);
    SET(burst_raised, 0);
    SET(ready, 0);
    pthread_create(&thread, NULL, burst_main, &burst_over);
    CHECK_EQ(crt_block_on(rt, burst_run, &f), 0);
    pthread_join(thread, NULL);
}

// ThreadSanitizer holds a signal back until the thread that got it makes a call that
// it knows to block, and the main thread sits in a bare futex call. There a thread
// that does nothing but sleep takes the signals.
#if defined(__SANITIZE_THREAD__)
static void *catcher_main(void *unused)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_UNBLOCK, &all, NULL);
    for (;;) test_pause_us(100000);
    return unused;
}
static void start_catcher(void)
{
    pthread_t thread;
    sigset_t ours;
    sigfillset(&ours);
    sigdelset(&ours, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &ours, NULL);
    pthread_create(&thread, NULL, catcher_main, NULL);
    pthread_detach(thread);
}
#else
static void start_catcher(void) {}
#endif

int main(int argc, char **argv)
{
    test_init(argc, argv);
    start_catcher();
    TEST_ON_EACH(a_signal_is_received_once);
    TEST_ON_EACH(between_two_calls_nothing_is_lost_and_several_are_one);
    TEST_ON_EACH(a_new_listener_starts_from_now);
    TEST_ON_EACH(every_listener_sees_every_signal);
    TEST_ON_EACH(numbers_do_not_mix);
    TEST_ON_EACH(ctrl_c_is_sigint);
    TEST_ON_EACH(numbers_that_cannot_be_caught_are_refused);
    TEST(without_the_driver_it_says_so);
    TEST_ON_EACH(two_runtimes_both_see_a_signal);
    TEST(a_signal_between_two_runtimes_is_not_for_the_second);
    TEST(cancelled_listeners_and_ended_runtimes_leave_nothing);
    TEST_ON_EACH(a_burst_of_signals_does_no_harm);
    TEST_ON_EACH(two_waits_of_one_task);
    return test_end();
}
