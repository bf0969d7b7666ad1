// Promises that no other file has come to: seldom used functions and rare turns of the others, by section.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#include "by_hand.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif
#include <sys/un.h>

// ---- errors ----------------------------------------------------------------

static void every_error_has_a_text(void)
{
    static const struct { int error; const char *name; } all[] = {
        {CRT_ECANCELED, "CRT_ECANCELED"}, {CRT_ETIMEDOUT, "CRT_ETIMEDOUT"}, {CRT_EPROTO, "CRT_EPROTO"},
        {CRT_EPANIC, "CRT_EPANIC"},       {CRT_ECLOSED, "CRT_ECLOSED"},     {CRT_EEMPTY, "CRT_EEMPTY"},
        {CRT_EFULL, "CRT_EFULL"},         {CRT_ELAGGED, "CRT_ELAGGED"},     {CRT_EEOF, "CRT_EEOF"},
        {CRT_ENODRIVER, "CRT_ENODRIVER"}, {CRT_ENESTED, "CRT_ENESTED"},     {CRT_ESHUTDOWN, "CRT_ESHUTDOWN"},
        {CRT_ENOTFOUND, "CRT_ENOTFOUND"}, {CRT_ENOCONTEXT, "CRT_ENOCONTEXT"}, {CRT_ENOMEM, "CRT_ENOMEM"},
        {CRT_EINVAL, "CRT_EINVAL"},       {CRT_EBUSY, "CRT_EBUSY"},         {CRT_EAGAIN, "CRT_EAGAIN"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        CHECK(strcmp(crt_err_name(all[i].error), all[i].name) == 0);
        CHECK(crt_strerror(all[i].error)[0] != 0);
        CHECK(strcmp(crt_strerror(all[i].error), "unknown error") != 0);
        for (size_t k = 0; k < i; k++) CHECK(strcmp(crt_strerror(all[i].error), crt_strerror(all[k].error)) != 0);
    }
    // the two that are no errors: who prints one has forgotten an await
    CHECK(strcmp(crt_err_name((int)CRT_PENDING), "CRT_PENDING") == 0);
    CHECK(strcmp(crt_err_name((int)CRT_UNWIND), "CRT_UNWIND") == 0);
    CHECK(strstr(crt_strerror((int)CRT_PENDING), "call it in CRT_AWAIT") != NULL);
    CHECK(strstr(crt_strerror((int)CRT_UNWIND), "is being cancelled") != NULL);
    CHECK(strcmp(crt_strerror(-ENOENT), strerror(ENOENT)) == 0);
    CHECK(strcmp(crt_err_name(-20999), "E?") == 0);
    CHECK(strcmp(crt_strerror(-20999), "unknown error") == 0);
}

// ---- tasks -----------------------------------------------------------------

static crt_poll fails_run(void *frame, crt_cx *cx)
{
    (void)cx;
    return *(int *)frame;
}
static crt_poll panics_run(void *frame, crt_cx *cx)
{
    static char file[600];
    (void)frame;
    memset(file, 'x', sizeof file - 1);
    crt__panic_at(cx, file, "f", 1, "out of %s", "coffee");
    return CRT_UNWIND;
}
static int times_named(const char *text)
{
    int n = 0;
    for (const char *at = test_log_text; (at = strstr(at, text)); at += strlen(text)) n++;
    return n;
}
static void failures_that_nobody_joins(void)
{
    crt_runtime *rt;
    int frame = CRT_EEOF;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .log.func = test_log}, &rt), 0);
    crt_handle *h = crt_runtime_handle(rt);
    test_log_clear();
    for (int i = 0; i < 70; i++) CHECK_EQ(crt_handle_spawn(h, fails_run, &frame), 0);
    CHECK_EQ(crt_runtime_turn(rt, 0), 70);
    CHECK_EQ(times_named("nobody joins it"), 18);   // the first 16, the 32nd, the 64th
    CHECK_EQ(times_named("only each doubling"), 3);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}
static void a_task_seen_through_its_handles(void)
{
    crt_runtime *rt;
    crt_join_handle *ends, *panics;
    int frame = 5;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .log.func = test_log}, &rt), 0);
    crt_handle *h = crt_runtime_handle(rt);
    CHECK_EQ(crt_handle_spawn_join(h, &ends, fails_run, &frame), 0);
    CHECK_EQ(crt_handle_spawn_join(h, &panics, panics_run, &frame), 0);
    crt_abort_handle *a = crt_join_abort_handle(ends);
    CHECK(!crt_abort_handle_is_finished(a) && !crt_join_panic_message(ends));
    CHECK_EQ(crt_runtime_turn(rt, 0), 2);
    CHECK(crt_abort_handle_is_finished(a) && !crt_join_panic_message(ends));
    CHECK(!strcmp(crt_join_panic_message(panics), "out of coffee"));   // where it was did not fit
    CHECK_EQ(crt_join_blocking(&panics, NULL), CRT_EPANIC);
    crt_detach(&panics);   // which a panic leaves
    CHECK_EQ(crt_join_blocking(&ends, NULL), 0);
    crt_abort_handle_drop(&a);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}
// An await inside a switch of its own is a trap; so is one in the cleanup that follows: that ends there.
typedef struct lost {
    crt_frame co;
    int way;
} lost;
static int cleanups;
static crt_poll lost_run(void *frame, crt_cx *cx)
{
    lost *self = frame;
    CRT_BEGIN(self, cx);
    switch (self->way) {
    default:
        CRT_AWAIT(crt_yield_now(cx));
    }
    CRT_FINALLY
        cleanups++;
        switch (self->way) {
        default:
            CRT_AWAIT(crt_yield_now(cx));   // done already: the first one's
            CRT_AWAIT(crt_yield_now(cx));
        }
        cleanups++;
    CRT_END;
}
static void a_trap_in_the_cleanup_after_a_trap(void)
{
    crt_runtime *rt;
    lost frame = {.way = 1};
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .log.func = test_log}, &rt), 0);
    test_log_clear();
    CHECK_EQ(crt_block_on(rt, lost_run, &frame), CRT_EPANIC);
    CHECK_EQ(cleanups, 1);
    CHECK_EQ(times_named("is that await inside a nested switch"), 2);
    crt_runtime_drop(&rt);
}
// While the worker has been given away there is a cx, and no worker.
typedef struct away {
    crt_frame co;
    crt_local_set set;
    crt_timer timer;
    crt_join_handle *join;
    crt_cx *cx;
    crt_task_desc child;
    intptr_t result;
    crt_poll r;
    int value;
} away;
static intptr_t without_a_worker(void *arg)
{
    away *self = arg;
    CHECK(self->cx->worker == NULL);
    crt_timer_reset(self->cx, &self->timer, CRT_MS(3) * test_patience(1));
    CHECK_EQ(crt_timer_wait(self->cx, &self->timer), CRT_PENDING);
    CHECK_EQ(crt_spawn_ex(self->cx, &self->child), 0);
    CHECK_EQ(crt_local_set_spawn(self->cx, &self->set, fails_run, &self->value), 0);
    return 9;
}
static crt_poll away_run(void *frame, crt_cx *cx)
{
    away *self = frame;
    CRT_BEGIN(self, cx);
    self->cx = cx;
    self->value = 7;
    self->child = (crt_task_desc){.fn = fails_run, .frame = &self->value, .size = sizeof self->value};
    self->child.join = &self->join;
    if (crt_runtime_config(cx->rt)->flavor == CRT_MULTI_THREAD) {
        CHECK_EQ(crt_block_in_place(cx, without_a_worker, self), 9);
        CRT_AWAIT(self->r = crt_timer_wait(cx, &self->timer));
        CHECK_EQ(self->r, 0);
        CRT_AWAIT(self->r = crt_local_set_join(cx, &self->set));
        CHECK_EQ(self->r, 0);
    } else {
        self->child.local = true;
        CHECK_EQ(crt_spawn_ex(cx, &self->child), 0);
    }
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CRT_RETURN(self->r ? self->r : self->result);
    CRT_END;
}
static intptr_t shuts_down(void *rt) { return crt_runtime_shutdown(rt, 0); }
static void off_the_workers(crt_runtime *rt)
{
    crt_join_handle *join;
    away frame = {.r = 0};
    intptr_t result;
    crt_handle *h = crt_runtime_handle(rt);
    CHECK_EQ(crt_block_on(rt, away_run, &frame), 7);
    CHECK_EQ(crt_handle_spawn_blocking(h, &join, shuts_down, rt), 0);
    CHECK_EQ(crt_join_blocking(&join, &result), 0);
    CHECK_EQ(result, CRT_ENESTED);
    crt_handle_drop(&h);
}

// ---- how many CPUs ---------------------------------------------------------

#ifdef CRT_PLATFORM_EPOLL_H
static char root[64];
static void group(const char *path, const char *file, const char *text)
{
    char name[256];
    snprintf(name, sizeof name, "%s%s", root, path);
    mkdir(name, 0700);
    snprintf(name, sizeof name, "%s%s/%s", root, path, file);
    FILE *f = fopen(name, "w");
    CHECK(f != NULL);
    if (f) fputs(text, f), fclose(f);
}
static int allowed(const char *path, bool v2, int most)
{
    char copy[64];
    snprintf(copy, sizeof copy, "%s", path);
    return crt__cgroup_walk(root, copy, v2, most);
}
// A container's share of the CPUs decides how many workers there are: the least of the group's and those above it.
static void shares_of_control_groups(void)
{
    int fds = test_fd_count();
    snprintf(root, sizeof root, "/tmp/crt-groups-%d", (int)getpid());
    CHECK_EQ(mkdir(root, 0700), 0);
    CHECK_EQ(allowed("/none/there", true, 8), 8);
    CHECK_EQ(allowed("/none/there", false, 8), 8);
    group("/a", "cpu.max", "400000 100000\n");
    group("/a/b", "cpu.max", "250000 100000\n");
    group("/a/b/c", "cpu.max", "max 100000\n");
    group("/a/d", "cpu.max", "10000 100000\n");
    group("/a/e", "cpu.max", "100000 0\n");
    group("/a/f", "cpu.max", "");
    group("/a/g", "cpu.max", "900000 100000\n");
    CHECK_EQ(allowed("/a", true, 8), 4);
    CHECK_EQ(allowed("/a/b", true, 8), 2);       // rounded down
    CHECK_EQ(allowed("/a/b/c", true, 8), 2);     // without a limit, below one that has one
    CHECK_EQ(allowed("/a/d", true, 8), 1);       // less than one counts as one
    CHECK_EQ(allowed("/a/e", true, 8), 4);       // nonsense is no limit
    CHECK_EQ(allowed("/a/f", true, 8), 4);
    CHECK_EQ(allowed("/a/g", true, 8), 4);
    CHECK_EQ(allowed("/a/g", true, 2), 2);       // never more than the affinity mask has
    group("/v1", "cpu.cfs_quota_us", "300000\n");
    CHECK_EQ(allowed("/v1", false, 8), 8);       // without its period, nothing is known
    group("/v1", "cpu.cfs_period_us", "100000\n");
    CHECK_EQ(allowed("/v1", false, 8), 3);
    group("/v1", "cpu.cfs_quota_us", "-1\n");
    CHECK_EQ(allowed("/v1", false, 8), 8);
    group("/v1", "cpu.cfs_quota_us", "x\n");
    CHECK_EQ(allowed("/v1", false, 8), 8);
    group("/v1", "cpu.cfs_quota_us", "300000\n");
    group("/v1", "cpu.cfs_period_us", "x\n");
    CHECK_EQ(allowed("/v1", false, 8), 8);
    CHECK(crt__cpu_count() >= 1);
    CHECK_EQ(test_fd_count(), fds);   // each file is closed again
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", root);
    CHECK_EQ(system(command), 0);
}
// Without close_range a child closes what /proc lists: from a number on, those below stay.
static void descriptors_of_a_child_without_close_range(void)
{
    int low = dup(0), high = fcntl(0, F_DUPFD, 200);
    CHECK(high >= 200);
    CHECK(crt__child_close_listed(200));
    CHECK_EQ(fcntl(low, F_GETFD) & FD_CLOEXEC, 0);
    CHECK_EQ(fcntl(high, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close(low);
    close(high);
}
#endif

// ---- addresses -------------------------------------------------------------

static void addresses_that_differ(void)
{
    crt_addr a, b;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    CHECK(crt_addr_equal(&a, &b));   // of no family
    b.len = 8;
    CHECK(!crt_addr_equal(&a, &b));
    a.len = 8;
    b.u.bytes[5] = 1;
    CHECK(!crt_addr_equal(&a, &b));
    CHECK_EQ(crt_addr_unix("/tmp/one", &a), 0);
    CHECK_EQ(crt_addr_unix("/tmp/one", &b), 0);
    CHECK(crt_addr_equal(&a, &b));
    CHECK_EQ(crt_addr_unix("/tmp/ones", &b), 0);
    CHECK(!crt_addr_equal(&a, &b));
    CHECK_EQ(crt_addr_unix("/tmp/two", &b), 0);
    CHECK(!crt_addr_equal(&a, &b));
}
// The number of an interface that 32 bits do not hold is none.
static void scopes_that_are_too_large(void)
{
    crt_addr a;
    CHECK_EQ(crt_addr_parse("[fe80::1%4294967295]:80", &a), 0);
    CHECK(crt_addr_parse("[fe80::1%4294967296]:80", &a) < 0);
    CHECK(crt_addr_parse("[fe80::1%42949672960]:80", &a) < 0);
}
#ifdef CRT_PLATFORM_EPOLL_H
// Longer than the kernel's numbers hold is without limit, not in the past.
static void a_wait_of_centuries(void)
{
    uint32_t word = 1;
    CHECK(!crt__futex_wait(&word, 0, INT64_MAX));   // there is nothing to wait for
    CHECK(crt__futex_wait(&word, 1, 1000000));      // late, and says so
}
// Where each of them fails: who has made a call of the system looks at errno after they have passed.
static void what_waits_wakes_and_closes_leaves_errno_alone(void)
{
    uint32_t word[2] = {1, 0};
    crt_runtime *rt;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt), 0);
    errno = 1234;
    CHECK(!crt__futex_wait(word, 0, -1));
    CHECK_EQ(errno, 1234);
    crt__futex_wake((uint32_t *)(void *)((char *)word + 1), 1);   // no word is there
    CHECK_EQ(errno, 1234);
    crt__fd_close(-1);
    CHECK_EQ(errno, 1234);
    crt__reactor_remove(rt->reactor, -1, 0);
    CHECK_EQ(errno, 1234);
    crt_runtime_drop(&rt);
}
// The counter of wake-ups is full, and the thread that waits has seen that edge: one more is an edge all the same.
static void a_wake_up_beyond_the_last_that_fits(void)
{
    const uint64_t most = UINT64_MAX - 1;
    struct epoll_event e;
    crt_runtime *rt;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt), 0);
    CHECK_EQ(write(rt->reactor->wake, &most, sizeof most), sizeof most);
    CHECK_EQ(epoll_wait(rt->reactor->epoll, &e, 1, 0), 1);
    CHECK_EQ(epoll_wait(rt->reactor->epoll, &e, 1, 0), 0);
    errno = 1234;
    crt__reactor_wake(rt->reactor);
    CHECK_EQ(errno, 1234);
    CHECK_EQ(epoll_wait(rt->reactor->epoll, &e, 1, 0), 1);
    uint64_t n = 0;
    CHECK_EQ(read(rt->reactor->wake, &n, sizeof n), sizeof n);
    CHECK_EQ(n, 1);   // and there is room again
    crt_runtime_drop(&rt);
}
#endif

// ---- groups ----------------------------------------------------------------

typedef struct small {
    crt_frame co;
    int result, panics;
} small;
static crt_poll small_run(void *frame, crt_cx *cx)
{
    small *self = frame;
    CRT_BEGIN(self, cx);
    if (self->panics) CRT_PANIC(cx, "no. %d", self->result);
    CRT_RETURN(self->result);
    CRT_FINALLY
    CRT_END;
}
static int dropped;   // atomic
static void count_drop(void *value)
{
    (void)value;
    __atomic_fetch_add(&dropped, 1, __ATOMIC_SEQ_CST);
}
static crt_task_local key_a = {"a"}, key_b = {"b"};
typedef struct group_test {
    crt_frame co;
    crt_join_set set;
    crt_join_map map;
    crt_task_tracker *tracker, *twin;
    crt_join_handle *join;
    crt_poll r;
    uint64_t key;
    intptr_t result;
    int i;
} group_test;
static crt_poll group_run(void *frame, crt_cx *cx)
{
    group_test *self = frame;
    CRT_BEGIN(self, cx);
    // Detached: one that has ended, one that goes on. The set is as new.
    CHECK_EQ(crt_join_set_spawn(cx, &self->set, small_run, &(small){.result = 1}), 0);
    CHECK_EQ(crt_join_set_spawn(cx, &self->set, small_run, &(small){.result = 2}), 0);
    for (self->i = 0; self->i < 50; self->i++) CRT_AWAIT(crt_yield_now(cx));
    CHECK_EQ(crt_join_set_spawn(cx, &self->set, small_run, &(small){.result = 3}), 0);
    CHECK_EQ(crt_join_set_len(&self->set), 3);
    crt_join_set_detach_all(&self->set);
    CHECK_EQ(crt_join_set_len(&self->set), 0);
    CRT_AWAIT(self->r = crt_join_set_next(cx, &self->set, NULL));
    CHECK_EQ(self->r, CRT_EEMPTY);
    // Why it panicked, by key.
    CHECK_EQ(crt_join_map_spawn(cx, &self->map, 7, small_run, &(small){.result = 42, .panics = 1}), 0);
    CRT_AWAIT(self->r = crt_join_map_next(cx, &self->map, &self->key, &self->result));
    CHECK_EQ(self->r, CRT_EPANIC);
    CHECK_EQ(self->key, 7);
    CHECK(crt_join_map_panic_message(&self->map) && strstr(crt_join_map_panic_message(&self->map), "no. 42"));
    // A clone of a tracker keeps it; it counts through either.
    self->tracker = crt_task_tracker_new();
    self->twin = crt_task_tracker_clone(self->tracker);
    CHECK(self->twin == self->tracker);
    CHECK_EQ(crt_task_tracker_spawn(cx, self->twin, small_run, &(small){.result = 0}), 0);
    crt_task_tracker_drop(&self->tracker);
    CHECK(crt_task_tracker_close(self->twin));
    CRT_AWAIT(self->r = crt_task_tracker_wait(cx, self->twin));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_task_tracker_len(self->twin), 0);
    // Values of the task: one without a drop, one that replaces another, one that stays till the end.
    CHECK_EQ(crt_task_local_set(cx, &key_a, self, NULL), 0);
    CHECK(crt_task_local_get(cx, &key_a) == self);
    CHECK_EQ(crt_task_local_set(cx, &key_a, &key_a, count_drop), 0);
    CHECK_EQ(dropped, 0);
    CHECK_EQ(crt_task_local_set(cx, &key_a, &key_b, count_drop), 0);
    CHECK_EQ(dropped, 1);
    CHECK_EQ(crt_task_local_set(cx, &key_b, &key_b, NULL), 0);
    CRT_FINALLY
        crt_join_set_drop(&self->set);
        crt_join_map_drop(&self->map);
        crt_task_tracker_drop(&self->tracker);
        crt_task_tracker_drop(&self->twin);
    CRT_END;
}
static void groups(crt_runtime *rt)
{
    dropped = 0;
    CHECK_EQ(crt_block_on(rt, group_run, &(group_test){.i = 0}), 0);
    CHECK_EQ(dropped, 2);   // the last with the task
}

// Two cannot wait for one task: the second is told so, and the first goes on waiting.
static crt_join_handle *shared;
static crt_notify let_go;
static crt_poll waits_run(void *frame, crt_cx *cx)
{
    crt_frame *self = frame;
    (void)self;
    return crt_notified(cx, &let_go);
}
static crt_poll joins_run(void *frame, crt_cx *cx)
{
    (void)frame;
    return crt_join(cx, &shared, NULL);
}
static void two_wait_for_one_task(void)
{
    crt_runtime *rt;
    crt_join_handle *joiner;
    intptr_t result = -1;
    int frame = 0;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt), 0);
    crt_handle *h = crt_runtime_handle(rt);
    CHECK_EQ(crt_handle_spawn_join(h, &shared, waits_run, &frame), 0);
    CHECK_EQ(crt_handle_spawn_join(h, &joiner, joins_run, &frame), 0);
    CHECK_EQ(crt_runtime_turn(rt, 0), 2);
    CHECK_EQ(crt_join_blocking(&shared, NULL), CRT_EBUSY);
    CHECK(shared != NULL);
    crt_notify_one(&let_go);
    while (crt_runtime_turn(rt, CRT_MS(1)) > 0) {}
    CHECK(shared == NULL);
    CHECK_EQ(crt_join_blocking(&joiner, &result), 0);
    CHECK_EQ(result, 0);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}

// ---- time ------------------------------------------------------------------

typedef struct delays {
    crt_frame co;
    crt_delay_queue q;
    crt_delay d[4], *got;
    crt_timer timer;
    crt_poll r;
} delays;
static crt_poll delays_run(void *frame, crt_cx *cx)
{
    delays *self = frame;
    CRT_BEGIN(self, cx);
    CHECK(!crt_timer_is_elapsed(cx, &self->timer));   // it was never set
    crt_timer_reset(cx, &self->timer, 0);
    CHECK(crt_timer_is_elapsed(cx, &self->timer));
    crt_timer_stop(&self->timer);
    // Due, to come, and never: cleared, all can be put in again.
    CHECK_EQ(crt_delay_insert(cx, &self->q, &self->d[0], CRT_MS(1)), 0);
    CHECK_EQ(crt_delay_insert(cx, &self->q, &self->d[1], CRT_MS(1)), 0);
    CHECK_EQ(crt_delay_insert(cx, &self->q, &self->d[2], CRT_SEC(100)), 0);
    CHECK_EQ(crt_delay_insert(cx, &self->q, &self->d[3], CRT_FOREVER), 0);
    CRT_AWAIT(self->r = crt_delay_next(cx, &self->q, &self->got));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_delay_len(&self->q), 3);
    crt_delay_queue_clear(&self->q);
    CHECK_EQ(crt_delay_len(&self->q), 0);
    CHECK_EQ(crt_delay_insert(cx, &self->q, &self->d[3], CRT_MS(1)), 0);
    CRT_AWAIT(self->r = crt_delay_next(cx, &self->q, &self->got));
    CHECK(self->r == 0 && self->got == &self->d[3]);
    CRT_FINALLY
        crt_delay_queue_drop(&self->q);
        crt_delay_queue_drop(&self->q);
    CRT_END;
}
static void delay_queue(crt_runtime *rt)
{
    CHECK_EQ(crt_block_on(rt, delays_run, &(delays){.r = 0}), 0);
}

// ---- scripted streams ------------------------------------------------------

typedef struct mock {
    crt_frame co;
    crt_stream *s;
    crt_poll r;
    char buf[256];
} mock;
static crt_poll mock_run(void *frame, crt_cx *cx)
{
    static const char odd[] = "a\tb\\c\"d\r\n\x01\xff", other[] = "a\tb\\c\"d\r\n\x01\xfe";
    static char longer[300];
    static const crt_mock_step one[] = {crt_mock_write(odd, sizeof odd - 1)},
                               two[] = {crt_mock_write(longer, sizeof longer), crt_mock_read("x", 1)},
                               three[] = {crt_mock_read_error(CRT_ECONNRESET), crt_mock_write("y", 1), crt_mock_read("z", 1)},
                               four[] = {crt_mock_read("ab", 2), crt_mock_write_error(-EPIPE)},
                               five[] = {crt_mock_write_error(CRT_EPROTO), crt_mock_read("x", 1)};
    mock *self = frame;
    CRT_BEGIN(self, cx);
    memset(longer, 'l', sizeof longer);
    // What is logged can be read, whatever the bytes are.
    test_log_clear();
    CHECK_EQ(crt_mock_new(cx, "odd", one, 1, &self->s), 0);
    CRT_AWAIT(self->r = crt_write(cx, self->s, other, sizeof other - 1));
    CHECK_EQ(self->r, CRT_EPROTO);
    CHECK(test_log_has("\"a\\tb\\\\c\\\"d\\r\\n\\001\\377\""));
    CHECK(test_log_has("byte 10 differs"));
    CRT_AWAIT(self->r = crt_write(cx, self->s, odd, sizeof odd - 1));   // from now on everything fails
    CHECK_EQ(self->r, CRT_EPROTO);
    CRT_AWAIT(self->r = crt_read(cx, self->s, self->buf, 1));
    CHECK_EQ(self->r, CRT_EPROTO);
    crt_close(&self->s);
    // Long text is cut off.
    test_log_clear();
    CHECK_EQ(crt_mock_new(cx, NULL, two, 2, &self->s), 0);
    CRT_AWAIT(self->r = crt_write(cx, self->s, "no", 2));
    CHECK_EQ(self->r, CRT_EPROTO);
    CHECK(test_log_has("lll..."));
    crt_close(&self->s);
    // A write may come before the reads in front of it, failing ones too.
    CHECK_EQ(crt_mock_new(cx, NULL, three, 3, &self->s), 0);
    CRT_AWAIT(self->r = crt_write(cx, self->s, "y", 1));
    CHECK_EQ(self->r, 1);
    CRT_AWAIT(self->r = crt_read(cx, self->s, self->buf, 1));
    CHECK_EQ(self->r, CRT_ECONNRESET);
    // Who has ended his reading reads nothing any more.
    CRT_AWAIT(self->r = crt_shutdown_read(cx, self->s));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_read(cx, self->s, self->buf, 1));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_mock_left(self->s), 1);
    crt_close(&self->s);
    CHECK_EQ(crt_mock_new(cx, NULL, four, 2, &self->s), 0);
    CRT_AWAIT(self->r = crt_peek(cx, self->s, self->buf, 2));
    CHECK_EQ(self->r, 2);
    CRT_AWAIT(self->r = crt_read_exact(cx, self->s, self->buf, 2));
    CHECK_EQ(self->r, 2);
    CRT_AWAIT(self->r = crt_write(cx, self->s, "y", 1));
    CHECK_EQ(self->r, -EPIPE);
    CHECK_EQ(crt_mock_left(self->s), 0);
    crt_close(&self->s);
    // An error that the script asks for is none of its reader's.
    test_log_clear();
    CHECK_EQ(crt_mock_new(cx, NULL, five, 2, &self->s), 0);
    CRT_AWAIT(self->r = crt_write(cx, self->s, "y", 1));
    CHECK_EQ(self->r, CRT_EPROTO);
    CRT_AWAIT(self->r = crt_read(cx, self->s, self->buf, 9));
    CHECK(self->r == 1 && !test_log_length);
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
static void scripts(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, mock_run, &(mock){.s = NULL}), 0); }

// ---- standard error --------------------------------------------------------

typedef struct output {
    crt_frame co;
    crt_stream *s, *twin;
    crt_poll r;
} output;
static crt_poll output_run(void *frame, crt_cx *cx)
{
    output *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stderr(cx, &self->s), 0);
    CHECK_EQ(crt_stderr(cx, &self->twin), 0);
    CRT_AWAIT(self->r = crt_write_all(cx, self->s, "one ", 4));
    CHECK_EQ(self->r, 4);
    CRT_AWAIT(self->r = crt_write_all(cx, self->twin, "two", 3));
    CHECK_EQ(self->r, 3);
    CRT_AWAIT(self->r = crt_flush(cx, self->s));
    CHECK_EQ(self->r, 0);
    crt_close(&self->s);
    CRT_AWAIT(self->r = crt_flush(cx, self->twin));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_flush(cx, NULL));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_FINALLY
        crt_close(&self->s);
        crt_close(&self->twin);
    CRT_END;
}
static void standard_error(crt_runtime *rt)
{
    char text[16] = "";
    fflush(stderr);
#ifdef _WIN32   // crt goes by the handle, the C library by its own number
    HANDLE keep = GetStdHandle(STD_ERROR_HANDLE), in, out;
    DWORD n = 0;
    CHECK(CreatePipe(&in, &out, NULL, 0) && SetStdHandle(STD_ERROR_HANDLE, out));
    crt_poll r = crt_block_on(rt, output_run, &(output){.s = NULL});
    SetStdHandle(STD_ERROR_HANDLE, keep);
    CHECK(ReadFile(in, text, sizeof text - 1, &n, NULL) && n == 7);
    CloseHandle(in);
    CloseHandle(out);
#else
    int keep = dup(2), fd[2];
    CHECK_EQ(pipe(fd), 0);
    dup2(fd[1], 2);
    crt_poll r = crt_block_on(rt, output_run, &(output){.s = NULL});
    dup2(keep, 2);
    CHECK_EQ(read(fd[0], text, sizeof text - 1), 7);
    close(fd[0]);
    close(fd[1]);
    close(keep);
#endif
    CHECK_EQ(r, 0);
    CHECK(strcmp(text, "one two") == 0);
}

// ---- directories -----------------------------------------------------------

typedef struct listing {
    crt_frame co;
    const char *path;
    crt_dir *d;
    crt_fs_dirent e;
    crt_poll r;
    int seen[8];
} listing;
static crt_poll listing_run(void *frame, crt_cx *cx)
{
    listing *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_fs_read_dir(cx, self->path, &self->d));
    CHECK_EQ(self->r, 0);
    for (;;) {
        CRT_AWAIT(self->r = crt_dir_next(cx, self->d, &self->e));
        if (self->r <= 0) break;
        self->seen[self->e.kind & 7]++;
    }
    CHECK_EQ(self->r, 0);
    CRT_RETURN(self->seen[CRT_FS_SOCKET] * 100 + self->seen[CRT_FS_FIFO] * 10 + (self->seen[CRT_FS_CHAR] > 0));
    CRT_FINALLY
        crt_close(&self->d);
    CRT_END;
}
static void kinds_of_entries(crt_runtime *rt)
{
#ifdef _WIN32   // files and directories only: see test_fs.c
    CHECK(crt_block_on(rt, listing_run, &(listing){.path = "."}) == 0);
#else
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char dir[48], path[64];
    snprintf(dir, sizeof dir, "/tmp/crt-kinds-%d", (int)getpid());
    CHECK_EQ(mkdir(dir, 0700), 0);
    snprintf(name.sun_path, sizeof name.sun_path, "%s/s", dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | TEST_CLOEXEC, 0);
    CHECK_EQ(bind(fd, (struct sockaddr *)(void *)&name, sizeof name), 0);
    snprintf(path, sizeof path, "%s/f", dir);
    CHECK_EQ(mkfifo(path, 0600), 0);
    CHECK_EQ(crt_block_on(rt, listing_run, &(listing){.path = dir}), 110);
    CHECK_EQ(crt_block_on(rt, listing_run, &(listing){.path = "/dev"}) % 10, 1);
    close(fd);
    unlink(name.sun_path);
    unlink(path);
    rmdir(dir);
#endif
}

// ---- broadcast -------------------------------------------------------------

static void drop_elem(void *elem, void *user)
{
    (void)elem;
    ++*(int *)user;
}
static void elements_with_a_drop_only(void)
{
    crt_broadcast_tx *tx;
    crt_broadcast_rx *rx;
    int drops = 0, value = 5, got = 0;
    CHECK_EQ(crt_broadcast_new(sizeof value, 2, &tx), 0);
    crt_broadcast_set_ops(tx, &(crt_elem_ops){.drop = drop_elem, .user = &drops});
    CHECK_EQ(crt_broadcast_subscribe(tx, &rx), 0);
    for (int i = 0; i < 3; i++) CHECK_EQ(crt_broadcast_send(tx, &value), 1);
    CHECK_EQ(drops, 1);   // the one that lost its place
    CHECK_EQ(crt_broadcast_try_recv(rx, &got, NULL), CRT_ELAGGED);
    CHECK_EQ(crt_broadcast_try_recv(rx, &got, NULL), 0);
    CHECK_EQ(got, 5);
    crt_broadcast_rx_drop(&rx);
    crt_broadcast_tx_drop(&tx);
    crt_broadcast_tx_drop(&tx);
    CHECK(drops >= 2);
}

static void clone_elem(void *copy, void *user)
{
    (void)copy;
    ++*(int *)user;
}
static void elements_with_a_clone_only(void)
{
    crt_broadcast_tx *tx;
    crt_broadcast_rx *rx;
    int clones = 0, value = 5, got = 0;
    CHECK_EQ(crt_broadcast_new(sizeof value, 2, &tx), 0);
    crt_broadcast_set_ops(tx, &(crt_elem_ops){.clone = clone_elem, .user = &clones});
    CHECK_EQ(crt_broadcast_subscribe(tx, &rx), 0);
    for (int i = 0; i < 3; i++) CHECK_EQ(crt_broadcast_send(tx, &value), 1);
    CHECK_EQ(crt_broadcast_try_recv(rx, &got, NULL), CRT_ELAGGED);
    for (int i = 0; i < 2; i++) CHECK_EQ(crt_broadcast_try_recv(rx, &got, NULL), 0);
    CHECK_EQ(got, 5);
    CHECK_EQ(crt_broadcast_try_recv(rx, &got, NULL), CRT_EEMPTY);
    crt_broadcast_rx_drop(&rx);
    crt_broadcast_tx_drop(&tx);
    CHECK(clones <= 2);   // the last to receive has the value itself
}

// ---- sight, turns ----------------------------------------------------------

typedef struct sleeper {
    crt_frame co;
    CRT_SELECT(2) sel;
    crt_poll w;
    int how;
} sleeper;
static crt_poll by_hand(void *frame, crt_cx *cx) { return (void)frame, crt_take_unwind(cx) ? CRT_UNWIND : CRT_PENDING; }
static crt_poll sleeper_run(void *frame, crt_cx *cx)
{
    sleeper *self = frame;
    CRT_BEGIN(self, cx);
    if (self->how == 1) {
        CRT_AWAIT(self->w = crt_select(cx, &self->sel, crt_on(cx, 0, crt_sleep(cx, CRT_SEC(100))),
                                       crt_on(cx, 1, crt_sleep(cx, CRT_SEC(200)))));
    } else {
        CRT_AWAIT(self->w = by_hand(self, cx));
    }
    CRT_FINALLY
    CRT_END;
}
static int until_free;   // atomic
static intptr_t waits_until_free(void *unused)
{
    (void)unused;
    while (!__atomic_load_n(&until_free, __ATOMIC_SEQ_CST)) test_pause_us(200);
    return 0;
}
// A game's frame: what is ready runs, whatever its priority; what waits is named.
static void a_turn_and_a_dump(void)
{
    crt_runtime *rt;
    crt_join_handle *join[4] = {NULL};
    int n;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt), 0);
    crt_handle *h = crt_runtime_handle(rt);
    CHECK_EQ(crt_handle_spawn_join(h, &join[0], sleeper_run, &(sleeper){.how = 1}), 0);
    CHECK_EQ(crt_handle_spawn_join(h, &join[1], sleeper_run, &(sleeper){.how = 2}), 0);
    CHECK_EQ(crt_handle_spawn_join(h, &join[2], by_hand, &(sleeper){.how = 3}), 0);
    CHECK_EQ(crt_runtime_turn(rt, 0), 3);
    CHECK_EQ(crt_runtime_turn(rt, 0), 0);
    crt_abort(join[1]);   // not run yet
    until_free = 0;
    CHECK_EQ(crt_handle_spawn_blocking(h, &join[3], waits_until_free, NULL), 0);   // no task
    char *text = test_dump(rt, &n);
    CHECK_EQ(n, 3);
    CHECK(strstr(text, "waits for select") != NULL);
    CHECK(strstr(text, "waits for a waker") != NULL);
    CHECK(strstr(text, "cancelling, ") != NULL);
    free(text);
    __atomic_store_n(&until_free, 1, __ATOMIC_SEQ_CST);
    CHECK_EQ(crt_join_blocking(&join[3], NULL), 0);
    for (int i = 0; i < 3; i++) crt_abort(join[i]);
    while (crt_runtime_turn(rt, CRT_MS(1)) > 0) {}
    for (int i = 0; i < 3; i++) {
        CHECK(crt_is_finished(join[i]));
        crt_detach(&join[i]);
    }
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}
// A task that takes longer than the turn may is one task polled, not none.
static crt_poll slow_run(void *frame, crt_cx *cx)
{
    (void)frame;
    (void)cx;
    test_pause_us(3000);
    return 0;
}
static void a_turn_that_takes_too_long(void)
{
    crt_runtime *rt;
    int frame = 0;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt), 0);
    crt_handle *h = crt_runtime_handle(rt);
    for (int i = 0; i < 2; i++) CHECK_EQ(crt_handle_spawn(h, slow_run, &frame), 0);
    CHECK_EQ(crt_runtime_turn(rt, CRT_MS(1)), 1);
    CHECK_EQ(crt_runtime_turn(rt, CRT_MS(1)), 1);
    CHECK_EQ(crt_runtime_turn(rt, CRT_MS(1)), 0);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}
static int order[8], ordered;
typedef struct step {
    crt_frame co;
    int n;
} step;
static crt_poll step_run(void *frame, crt_cx *cx)
{
    (void)cx;
    order[ordered++ & 7] = ((step *)frame)->n;
    return 0;
}
static crt_poll steps_run(void *frame, crt_cx *cx)
{
    (void)frame;
    for (int i = 0; i < 3; i++) {
        step s = {.n = i};
        crt_task_desc d = {.fn = step_run, .frame = &s, .size = sizeof s, .priority = i - 1};
        CHECK_EQ(crt_spawn_ex(cx, &d), 0);
    }
    return 0;
}
static void a_turn_with_priorities(void)
{
    crt_runtime *rt;
    int frame = 0;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .drivers = CRT_DRIVER_NONE}, &rt), 0);
    crt_handle *h = crt_runtime_handle(rt);
    CHECK_EQ(crt_handle_spawn(h, steps_run, &frame), 0);
    CHECK_EQ(crt_runtime_turn(rt, 0), 1);
    CHECK_EQ(crt_runtime_turn(rt, 0), 3);
    CHECK_EQ(ordered, 3);
    CHECK(order[0] == 2 && order[1] == 1 && order[2] == 0);   // before all others, with them, after them
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}

// ---- a budget that is used up ------------------------------------------------

// The call in a poll without any budget left: it waits, has begun nothing, and is to be polled again.
#define SPENT(slot_, ...)                                                                  \
    (cx->budget = 0, cx->deferred = 0, held = cx->slot, cx->slot = &(slot_), got = (crt_poll)(__VA_ARGS__), \
     cx->slot = held, cx->budget = 128, CHECK(got == CRT_PENDING && cx->deferred))
// The same of a call that copies what it is given, and so begins: its result takes of the budget. Given up again.
#define BEGUN(slot_, ...)                                                                  \
    (cx->budget = 0, cx->deferred = 0, held = cx->slot, cx->slot = &(slot_), got = (crt_poll)(__VA_ARGS__), \
     cx->slot = held, cx->budget = 128, CHECK(got == CRT_PENDING && (slot_).op), crt__slot_cancel(&(slot_)))
// By hand, what a thread of the pool does: until it has.
#define UNTIL_DONE(slot_, ...)                                                             \
    do test_pause_us(100);                                                                 \
    while (AT(slot_, __VA_ARGS__) == CRT_PENDING)
BODY(a_budget_that_is_used_up)
{
    POLLS;
    crt_addr out;
    crt_stream *st = NULL;
    crt_file *f = NULL, *g = NULL;
    crt_process *p = NULL, *second = NULL;
    crt_exit_status status;
    crt_delay *due = NULL;
    crt_cancel_token *token = crt_cancel_token_new();
#ifdef _WIN32
    static const char *const argv[] = {"cmd", "/c", "exit 0", NULL};
#else
    static const char *const argv[] = {"true", NULL};
#endif
    const crt_process_desc child = {.argv = argv};
    char c;
    int fds = test_fd_count(), pair[2], ended = 0;
    CHECK_EQ(test_pipe(pair), 0);
    SPENT(s[0], crt_resolve(cx, "127.0.0.1:80", &out, 1));
    BEGUN(s[0], crt_tcp_connect(cx, "127.0.0.1:1", &st));
    SPENT(s[0], crt_unix_connect(cx, "@crt-corners", &st));
    SPENT(s[0], crt_fd_writable(cx, pair[1]));
    BEGUN(s[0], crt_fs_exists(cx, "/"));
    BEGUN(s[0], crt_process_spawn(cx, &child, &p));
    SPENT(s[0], crt_sleep(cx, CRT_MS(1)));
    SPENT(s[0], crt_delay_next(cx, &(crt_delay_queue){0}, &due));
    CHECK(!s[0].op && !st && !p && !due);
    CHECK_EQ(AT(s[0], crt_fs_exists(cx, "/")), PENDING);
    while (crt__atomic_load(&((crt__call *)s[0].object)->word, CRT__ACQUIRE) != CRT__CALL_DONE) test_pause_us(100);
    SPENT(s[0], crt_fs_exists(cx, "/"));   // over, and told when there is a budget
    CHECK_EQ(AT(s[0], crt_fs_exists(cx, "/")), 1);
    CHECK_EQ(AT(s[0], crt_resolve(cx, "127.0.0.1:80", &out, 1)), 1);   // the same slot, then
    CHECK_EQ(AT(s[0], crt_fd_writable(cx, pair[1])), 0);
    CHECK_EQ(AT(s[3], crt_sleep(cx, CRT_MS(1))), PENDING);
    crt__timers_settle(cx->worker);   // as at the end of a poll
    while (crt__atomic_load(&s[3].state, CRT__ACQUIRE) != CRT__TIMER_FIRED) {
        test_pause_us(500);
        crt__drivers_poll(cx->worker);
    }
    SPENT(s[3], crt_sleep(cx, CRT_MS(1)));   // over, and told when there is a budget
    CHECK_EQ(AT(s[3], crt_sleep(cx, CRT_MS(1))), 0);
    UNTIL_DONE(s[1], crt_fs_open(cx, "/dev/zero", NULL, &f));
    CHECK_EQ(got, 0);
    UNTIL_DONE(s[1], crt_fs_open(cx, "/dev/zero", NULL, &g));
    SPENT(s[1], crt_file_sync(cx, f));   // holds the file; another call in its place lets it go again
    CHECK(s[1].op && ((crt_file *)s[1].object)->refs == 2);
    SPENT(s[1], crt_file_sync(cx, g));   // also the same call for another file
    CHECK(s[1].object == g && f->refs == 1);
    SPENT(s[1], crt_file_sync(cx, f));
    crt_close(&g);
    SPENT(s[1], crt_file_read(cx, f, &c, 1));   // this one stands in the file's line meanwhile
    CHECK_EQ(CANCEL(s[1], crt_file_read(cx, f, &c, 1)), UNWIND);
    SPENT(s[1], crt_file_read(cx, f, &c, 1));
    c = 'x';
    UNTIL_DONE(s[1], crt_file_read(cx, f, &c, 1));
    CHECK(got == 1 && c == 0);
    crt_close(&f);
    UNTIL_DONE(s[2], crt_process_spawn(cx, &child, &p));
    CHECK_EQ(got, 0);
    UNTIL_DONE(s[5], crt_process_spawn(cx, &child, &second));
    CHECK_EQ(got, 0);
#ifndef _WIN32   // without a pidfd (under memcheck) the signal's pipe stays open
    if (crt__process_by_signal(p->sock)) fds = -1;
#endif
    SPENT(s[2], crt_process_wait(cx, second, &status));   // another child's wait takes its place
    SPENT(s[2], crt_process_wait(cx, p, &status));
    for (int i = 0; i < 50000 && !crt_process_try_wait(second, &status); i++) test_pause_us(200);
    crt_close(&second);
    for (int i = 0; i < 50000 && !(ended = crt_process_try_wait(p, &status)); i++) test_pause_us(200);
    CHECK(ended == 1 && status.code == 0);
    CHECK_EQ(AT(s[2], crt_process_wait(cx, p, &status)), 0);
    crt_close(&p);
    CHECK_EQ(crt_stderr(cx, &st), 0);
    SPENT(s[5], crt_flush(cx, st));
    CHECK_EQ(AT(s[5], crt_flush(cx, st)), 0);
    SPENT(s[5], crt_flush(cx, st));
    crt_close(&st);
    CHECK_EQ(AT(s[5], crt_flush(cx, st)), CRT_ECLOSED);
    // What cannot begin, or is over, ends a turn like any other: see test_null for what is called with NULL.
    crt_join_set set = {0};
    crt_interval beat;
    crt_timer unset = {0};
    crt_listener *l = NULL;
    crt_udp *u = NULL;
    crt_interval_init(&beat, 0, CRT_BURST);
    SPENT(s[4], crt_interval_tick(cx, &beat));
    SPENT(s[4], crt_timer_wait(cx, &unset));
    SPENT(s[4], crt_join_set_next(cx, &set, NULL));
    SPENT(s[4], crt_tcp_listen(cx, "nowhere", NULL, &l));
    SPENT(s[4], crt_udp_bind(cx, "nowhere", &u));
    SPENT(s[4], crt_signal_recv(cx, -1));
    SPENT(s[4], crt_cancelled(cx, token));
    SPENT(s[4], crt_cancelled(cx, token));
    crt_cancel_token_cancel(token);
    CHECK_EQ(AT(s[4], crt_cancelled(cx, token)), 0);
    crt_cancel_token_drop(&token);
    CHECK_EQ(AT(s[4], crt_interval_tick(cx, &beat)), CRT_EINVAL);
    CHECK_EQ(AT(s[4], crt_timer_wait(cx, &unset)), CRT_EINVAL);
    CHECK_EQ(AT(s[4], crt_join_set_next(cx, &set, NULL)), CRT_EEMPTY);
    CHECK_EQ(AT(s[4], crt_tcp_listen(cx, "nowhere", NULL, &l)), CRT_EINVAL);
    CHECK_EQ(AT(s[4], crt_udp_bind(cx, "nowhere", &u)), CRT_EINVAL);
    CHECK_EQ(AT(s[4], crt_signal_recv(cx, -1)), CRT_EINVAL);
    CHECK(!s[4].op && !l && !u);
    close(pair[0]);
    close(pair[1]);
    (void)fds;
#ifndef KQUEUE_SHIM_SYS_EVENT_H   // which has a descriptor for a child until its end is told
    if (fds >= 0) CHECK_EQ(test_fd_count(), fds);
#endif
}

// What a call waits for is closed, by somebody else and for good, before it had a budget to begin. The caller has a
// copy of the pointer, or finds NULL in its place.
BODY(closed_before_there_was_a_budget)
{
    POLLS;
    crt_file *f = NULL, *file;
    crt_process *p = NULL, *process;
    crt_exit_status status;
    crt_fs_stat st;
#ifdef _WIN32
    static const char *const argv[] = {"cmd", "/c", "exit 0", NULL};
#else
    static const char *const argv[] = {"true", NULL};
#endif
    for (int null = 0; null < 2; null++) {
        UNTIL_DONE(s[1], crt_fs_temp_file(cx, NULL, &f, NULL));
        file = null ? NULL : f;
        SPENT(s[1], crt_file_metadata(cx, f, &st));
        crt_close(&f);
        UNTIL_DONE(s[1], crt_file_metadata(cx, file, &st));
        CHECK(got == 0 && st.kind == CRT_FS_FILE && st.size == 0);
        UNTIL_DONE(s[2], crt_process_spawn(cx, &(crt_process_desc){.argv = argv}, &p));
        CHECK_EQ(got, 0);
        process = null ? NULL : p;
        SPENT(s[2], crt_process_wait(cx, p, &status));
        crt_close(&p);
        CHECK_EQ(AT(s[2], crt_process_wait(cx, process, &status)), CRT_ECLOSED);
        CHECK(!s[1].op && !s[2].op);
    }
    UNTIL_DONE(s[1], crt_fs_temp_file(cx, NULL, &f, NULL));
    SPENT(s[1], crt_file_sync(cx, f));   // given up
    crt_close(&f);
    CHECK_EQ(CANCEL(s[1], crt_file_sync(cx, NULL)), CRT_UNWIND);
    // A token that can still be cancelled, by its parent; and one that is dropped, then cancelled.
    for (int raised = 0; raised < 2; raised++) {
        crt_cancel_token *parent = crt_cancel_token_new(), *t = crt_cancel_token_child(parent), *token = t;
        if (raised) crt_cancel_token_cancel(parent);
        SPENT(s[3], crt_cancelled(cx, t));
        crt_cancel_token_drop(&t);
        if (!raised) CHECK_EQ(AT(s[3], crt_cancelled(cx, token)), CRT_PENDING);
        crt_cancel_token_cancel(parent);
        CHECK_EQ(AT(s[3], crt_cancelled(cx, token)), 0);
        CHECK(!s[3].op);
        token = t = crt_cancel_token_child(parent);
        SPENT(s[3], crt_cancelled(cx, t));
        crt_cancel_token_drop(&t);
        CHECK_EQ(CANCEL(s[3], crt_cancelled(cx, token)), CRT_UNWIND);
        crt_cancel_token_drop(&parent);
    }
}

// ---- a poll that goes on after the end of its runtime ------------------------

// Only crt_block_in_place can make one: its worker goes on and ends without it.
enum { OUT_CONNECT, OUT_FD, OUT_RECV, OUT_FLUSH, OUT_CHILD, OUTLIVERS };
typedef struct outliver {
    int how, step;
    crt_stream *s;
    crt_udp *u;
    crt_process *p;
    crt_exit_status status;
    char buf[8];
} outliver;
static struct {
    int ready, gone, result;   // atomic
    int fd, written;
    char tcp[32];              // a listener whose backlog is full
} out;
static crt_poll out_leaf(outliver *self, crt_cx *cx)
{
    switch (self->how) {
    case OUT_CONNECT: return crt_tcp_connect(cx, out.tcp, &self->s);
    case OUT_FD: return crt_fd_readable(cx, out.fd);
    case OUT_RECV: return crt_udp_recv(cx, self->u, self->buf, sizeof self->buf);
    case OUT_FLUSH: return crt_flush(cx, self->s);
    default: return crt_process_wait(cx, self->p, &self->status);
    }
}
static intptr_t out_wait(void *unused)
{
    (void)unused;
    __atomic_store_n(&out.ready, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&out.gone, __ATOMIC_SEQ_CST)) test_pause_us(200);
    return 0;
}
// What the leaf needs. CRT_PENDING: not yet.
static crt_poll out_open(outliver *self, crt_cx *cx)
{
#ifdef _WIN32
    static const char *argv[] = {NULL, "sleeps", NULL};
    argv[0] = _pgmptr;   // this program
#else
    static const char *const argv[] = {"/bin/sleep", "1000", NULL};
#endif
    static const crt_process_desc child = {.argv = (const char *const *)argv, .in = {.kind = CRT_STDIO_NULL}};
    static char much[100000];
    switch (self->how) {
    case OUT_RECV: return crt_udp_bind(cx, "127.0.0.1:0", &self->u);
    case OUT_FLUSH:
        if (!self->s) CHECK_EQ(crt_stderr(cx, &self->s), 0);
        return crt_write(cx, self->s, much, sizeof much);
    case OUT_CHILD: return crt_process_spawn(cx, &child, &self->p);
    default: return 0;
    }
}
static crt_poll outliver_run(void *frame, crt_cx *cx)
{
    outliver *self = frame;
    crt_poll r;
    if (self->step == 0) {
        if ((r = out_open(self, cx)) == CRT_PENDING) return r;
        CHECK(r >= 0);
        out.written = (int)r;
        self->step = 1;
    }
    CHECK_EQ(out_leaf(self, cx), CRT_PENDING);
    crt_block_in_place(cx, out_wait, NULL);
    r = out_leaf(self, cx);   // in the same poll
    CHECK(!self->s || self->how == OUT_FLUSH);
    if (self->p) CHECK_EQ(crt_process_signal(self->p, SIGKILL), 0);
    crt_close(&self->s);
    crt_close(&self->u);
    crt_close(&self->p);
    __atomic_store_n(&out.result, (int)r, __ATOMIC_SEQ_CST);
    return 0;
}
static crt_poll goes_on_run(void *frame, crt_cx *cx)
{
    (void)frame, (void)cx;
    __atomic_store_n(&out.ready, 2, __ATOMIC_SEQ_CST);
    return 0;
}
static void a_poll_that_outlives_its_runtime_is_told(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof name;
    char buf[4096];
    int full[3], waits[2], stuck[2], keep = dup(2);
    CHECK_EQ(pipe(waits), 0);
    CHECK_EQ(pipe(stuck), 0);
    for (int i = 0; i < 3; i++) full[i] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(bind(full[0], (struct sockaddr *)&name, n), 0);
    CHECK_EQ(listen(full[0], 0), 0);
    CHECK_EQ(getsockname(full[0], (struct sockaddr *)&name, &n), 0);
    for (int i = 1; i < 3; i++) {   // the second waits already
        CHECK_EQ(fcntl(full[i], F_SETFL, O_NONBLOCK), 0);
        (void)connect(full[i], (struct sockaddr *)&name, n);
        if (i == 1) CHECK_EQ(poll(&(struct pollfd){.fd = full[0], .events = POLLIN}, 1, 10000), 1);
    }
    snprintf(out.tcp, sizeof out.tcp, "127.0.0.1:%d", ntohs(name.sin_port));
    out.fd = waits[0];
    for (int how = 0; how < OUTLIVERS; how++) {
        crt_runtime *rt;
#ifdef _WIN32
        if (how == OUT_CONNECT) continue;   // a full backlog refuses
#endif
#ifdef SYS_pidfd_open   // without them the table of children tells, whichever runtime lives
        int pidfd = how == OUT_CHILD ? (int)syscall(SYS_pidfd_open, getpid(), 0) : dup(0);
        if (pidfd < 0) continue;
        close(pidfd);
#endif
        out.ready = out.gone = 0;
        out.result = 1;
        fflush(stderr);
        if (how == OUT_FLUSH) {
#ifdef F_SETPIPE_SZ
            CHECK(fcntl(stuck[1], F_SETPIPE_SZ, 4096) >= 4096);
            dup2(stuck[1], 2);
#else
            continue;   // the pipe would take all of it
#endif
        }
        CHECK_EQ(crt_runtime_new(&(crt_config){.worker_threads = 1}, &rt), 0);
        crt_handle *h = crt_runtime_handle(rt);
        CHECK_EQ(crt_handle_spawn(h, outliver_run, &(outliver){.how = how}), 0);
        while (!__atomic_load_n(&out.ready, __ATOMIC_SEQ_CST)) test_pause_us(200);
        CHECK_EQ(crt_handle_spawn(h, goes_on_run, &(step){.n = 0}), 0);   // the worker goes on without it
        while (__atomic_load_n(&out.ready, __ATOMIC_SEQ_CST) < 2) test_pause_us(200);
        crt_runtime_shutdown(rt, CRT_MS(50));
        while (crt__atomic_load(&rt->unfinished, CRT__ACQUIRE)) test_pause_us(200);
        __atomic_store_n(&out.gone, 1, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&out.result, __ATOMIC_SEQ_CST) == 1) test_pause_us(200);
        if (how == OUT_FLUSH) {
            while (out.written > 0) out.written -= (int)read(stuck[0], buf, sizeof buf);
            dup2(keep, 2);
        }
        CHECK_EQ(out.result, CRT_ESHUTDOWN);
        crt_handle_drop(&h);
        crt_runtime_drop(&rt);
    }
    for (int i = 0; i < 3; i++) close(full[i]);
    for (int i = 0; i < 2; i++) close(waits[i]), close(stuck[i]);
    close(keep);
}

int main(int argc, char **argv)
{
#ifdef _WIN32
    if (argc == 2 && !strcmp(argv[1], "sleeps")) Sleep(INFINITE);
#endif
    test_init(argc, argv);
    TEST(every_error_has_a_text);
    TEST(failures_that_nobody_joins);
    TEST(a_task_seen_through_its_handles);
    TEST(a_trap_in_the_cleanup_after_a_trap);
    TEST_ON_EACH_WITH(off_the_workers, .log.func = test_log);
#ifdef CRT_PLATFORM_EPOLL_H
    TEST(shares_of_control_groups);
    TEST(descriptors_of_a_child_without_close_range);
    TEST(what_waits_wakes_and_closes_leaves_errno_alone);
    TEST(a_wake_up_beyond_the_last_that_fits);
#endif
    TEST(addresses_that_differ);
    TEST(scopes_that_are_too_large);
#ifdef CRT_PLATFORM_EPOLL_H
    TEST(a_wait_of_centuries);
#endif
    TEST_ON_EACH_WITH(groups, .log.func = test_log);
    TEST(two_wait_for_one_task);
    TEST_ON_EACH(delay_queue);
    TEST_ON_EACH_WITH(scripts, .log.func = test_log);
    TEST_ON_EACH(standard_error);
    TEST_ON_EACH(kinds_of_entries);
    TEST(elements_with_a_drop_only);
    TEST(elements_with_a_clone_only);
    TEST(a_turn_and_a_dump);
    TEST(a_turn_that_takes_too_long);
    TEST(a_turn_with_priorities);
    TEST_ON_EACH(a_budget_that_is_used_up);
    TEST_ON_EACH_WITH(closed_before_there_was_a_budget, .thread_keep_alive = CRT_MS(20));
    TEST(a_poll_that_outlives_its_runtime_is_told);
    return test_end();
}
