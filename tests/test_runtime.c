// The runtime around the tasks: every field of crt_config, hooks, block_on, handles,
// several runtimes, stepping from a foreign loop, local sets, and above all shutdown.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

#define SHARED(x) __atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define SET(x, v) __atomic_store_n(&(x), (v), __ATOMIC_SEQ_CST)
#define ADD(x, v) __atomic_fetch_add(&(x), (v), __ATOMIC_SEQ_CST)

static int64_t real_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
static void pause_ms(int ms) { (void)test_pause_us(ms * 1000L); }
#define WAIT_FOR(condition)                                                                \
    do {                                                                                   \
        int64_t until__ = real_now() + CRT_SEC(5);                                         \
        while (!(condition) && real_now() < until__) test_pause_us(300);                          \
        CHECK(condition);                                                                  \
    } while (0)

// Memory is counted: what a runtime took comes back, byte by byte.
static long blocks, bytes, countdown = -1;   // atomic; countdown: allocations until one fails
static void *count_alloc(size_t n, void *user)
{
    CHECK(user == &blocks);
    if (SHARED(countdown) >= 0 && ADD(countdown, -1) == 0) return NULL;
    size_t *p = malloc(n + 16);
    p[0] = n;
    ADD(blocks, 1);
    ADD(bytes, (long)n);
    return (char *)p + 16;
}
static void count_free(void *p, void *user)
{
    CHECK(user == &blocks);
    size_t *head = (size_t *)(void *)((char *)p - 16);
    ADD(blocks, -1);
    ADD(bytes, -(long)head[0]);
    free(head);
}
#define COUNTED .allocator = {count_alloc, count_free, &blocks}
#define LOGGED .log = {test_log, NULL, 0}

static crt_runtime *runtime(const crt_config *c)
{
    crt_runtime *rt = NULL;
    CHECK_EQ(crt_runtime_new(c, &rt), 0);
    return rt;
}
static crt_runtime *current_thread(void) { return runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD, LOGGED}); }
static crt_poll again(crt_cx *cx)
{
    crt_waker w = crt_waker_clone(cx);
    crt_wake(&w);
    return CRT_PENDING;
}

typedef struct frame {
    crt_frame co;
    int i, n;
    crt_duration d;
    crt_notify *notify;
    crt_join_handle *join[64], *one;
    intptr_t result;
    crt_poll r, r2;
    crt_timer timer;
    crt_runtime *rt;
    crt_handle *h;
    uint64_t id;
} frame;
static int ran, cleaned;   // atomic
static crt_poll nothing_run(void *f, crt_cx *cx)
{
    (void)f;
    (void)cx;
    ADD(ran, 1);
    return 0;
}
static crt_poll nap_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, self->d));
    ADD(ran, 1);
    CRT_RETURN(self->n);
    CRT_FINALLY
        ADD(cleaned, 1);
    CRT_END;
}

// ---------------------------------------------------------------------------
// configuration
// ---------------------------------------------------------------------------

static void bad(const char *field, const crt_config *config)
{
    crt_config c = *config;
    crt_runtime *rt = (crt_runtime *)1;
    char name[64];
    c.log = (crt_log){test_log, NULL, 0};
    test_log_clear();
    int e = crt_runtime_new(&c, &rt);
    CHECK_EQ(e, CRT_EINVAL);
    CHECK(rt == NULL);
    snprintf(name, sizeof name, "crt_config.%s", field);
    if (!test_log_has(name)) {
        fprintf(stderr, "the log does not name %s: %s\n", name, test_log_text);
        CHECK(!"the log names the field");
    }
}
static void a_bad_value_is_refused_and_named(void)
{
    bad("flavor", &(crt_config){.flavor = 2});
    bad("flavor", &(crt_config){.flavor = -1});
    bad("worker_threads", &(crt_config){.worker_threads = -1});
    bad("worker_threads", &(crt_config){.worker_threads = 1025});
    bad("max_blocking_threads", &(crt_config){.max_blocking_threads = -1});
    bad("thread_keep_alive", &(crt_config){.thread_keep_alive = -1});
    bad("thread_stack_size", &(crt_config){.thread_stack_size = 1});
    bad("thread_stack_size", &(crt_config){.thread_stack_size = 16383});
    bad("drivers", &(crt_config){.drivers = 8});
    bad("drivers", &(crt_config){.drivers = CRT_DRIVER_ALL | 0x40000000u});
    bad("drivers", &(crt_config){.drivers = CRT_DRIVER_NONE | CRT_DRIVER_IO});
    bad("drivers", &(crt_config){.drivers = CRT_DRIVER_SIGNAL});
    bad("drivers", &(crt_config){.drivers = CRT_DRIVER_SIGNAL | CRT_DRIVER_TIME});
    bad("global_queue_interval", &(crt_config){.global_queue_interval = -1});
    bad("event_interval", &(crt_config){.event_interval = -61});
    bad("max_io_events", &(crt_config){.max_io_events = -1});
    bad("max_io_events", &(crt_config){.max_io_events = 65537});
    bad("unhandled_panic", &(crt_config){.unhandled_panic = 2});
    bad("unhandled_panic", &(crt_config){.unhandled_panic = -1});
    bad("start_paused", &(crt_config){.start_paused = true});
    bad("start_paused", &(crt_config){.flavor = CRT_CURRENT_THREAD, .start_paused = true, .drivers = CRT_DRIVER_IO});
    bad("start_paused", &(crt_config){.flavor = CRT_CURRENT_THREAD, .start_paused = true, .drivers = CRT_DRIVER_NONE});
    bad("allocator", &(crt_config){.allocator = {count_alloc, NULL, NULL}});
    bad("allocator", &(crt_config){.allocator = {NULL, count_free, NULL}});
}
#ifdef _WIN32   // no sched_getaffinity; names and stacks of threads are not looked at
static int cpus_allowed(void) { return crt__cpu_count(); }
static void setenv(const char *name, const char *value, int replace)
{
    char both[256];
    snprintf(both, sizeof both, "%s=%s", name, value);
    CHECK(replace && !_putenv(both));
}
static void unsetenv(const char *name) { setenv(name, "", 1); }
#else
static int cpus_allowed(void)
{
#ifdef __APPLE__   // has no mask
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
#else
    cpu_set_t set;
    CHECK_EQ(sched_getaffinity(0, sizeof set, &set), 0);
    return CPU_COUNT(&set);
#endif
}
#endif
static void defaults_are_filled_in(void)
{
    unsetenv("CRT_WORKER_THREADS");
    for (int flavor = 0; flavor < 2; flavor++) {
        crt_runtime *rt = runtime(&(crt_config){.flavor = flavor});
        const crt_config *c = crt_runtime_config(rt);
        CHECK_EQ(c->flavor, flavor);
        if (flavor == CRT_CURRENT_THREAD) CHECK_EQ(c->worker_threads, 1);
        else CHECK(c->worker_threads >= 1 && c->worker_threads <= cpus_allowed());
        CHECK_EQ(c->max_blocking_threads, 512);
        CHECK_EQ(c->thread_keep_alive, CRT_SEC(10));
        CHECK_EQ(c->thread_stack_size, 0);
        CHECK(!strcmp(c->thread_name, "crt-worker"));
        CHECK_EQ(c->drivers, CRT_DRIVER_ALL);
        CHECK_EQ(c->global_queue_interval, flavor == CRT_CURRENT_THREAD ? 31 : 0);
        CHECK_EQ(c->event_interval, 61);
        CHECK_EQ(c->max_io_events, 1024);
        CHECK_EQ(c->disable_lifo_slot, false);
        CHECK_EQ(c->start_paused, false);
        CHECK(c->seed != 0);
        CHECK_EQ(c->unhandled_panic, CRT_PANIC_IGNORE);
        CHECK_EQ(c->log.level, CRT_LOG_WARN);
        crt_runtime *other = runtime(&(crt_config){.flavor = flavor});
        CHECK(crt_runtime_config(other)->seed != c->seed);
        crt_runtime_drop(&other);
        crt_runtime_drop(&rt);
    }
    crt_runtime *rt = runtime(NULL);   // no config at all
    CHECK_EQ(crt_runtime_config(rt)->flavor, CRT_MULTI_THREAD);
    crt_runtime_drop(&rt);
    CHECK(rt == NULL);
    crt_runtime_drop(&rt);   // again: nothing
    crt_runtime_drop(NULL);
}
static void given_values_are_kept(void)
{
    char name[40] = "a-name-longer-than-the-kernel-keeps";
    crt_runtime *rt = runtime(&(crt_config){.worker_threads = 3, .max_blocking_threads = 7, .thread_keep_alive = 5,
        .thread_stack_size = 1 << 18, .thread_name = name, .drivers = CRT_DRIVER_TIME, .global_queue_interval = 9,
        .event_interval = 11, .max_io_events = 13, .disable_lifo_slot = true, .seed = 15,
        .unhandled_panic = CRT_PANIC_SHUTDOWN, COUNTED, LOGGED});
    const crt_config *c = crt_runtime_config(rt);
    memset(name, 'x', sizeof name - 1);   // the runtime has its own copy
    CHECK_EQ(c->worker_threads, 3);
    CHECK_EQ(c->max_blocking_threads, 7);
    CHECK_EQ(c->thread_keep_alive, 5);
    CHECK_EQ(c->thread_stack_size, 1 << 18);
    CHECK(!strncmp(c->thread_name, "a-name-longer-t", 15));
    CHECK_EQ(c->drivers, CRT_DRIVER_TIME);
    CHECK_EQ(c->global_queue_interval, 9);
    CHECK_EQ(c->event_interval, 11);
    CHECK_EQ(c->max_io_events, 13);
    CHECK_EQ(c->disable_lifo_slot, true);
    CHECK_EQ(c->seed, 15);
    CHECK_EQ(c->unhandled_panic, CRT_PANIC_SHUTDOWN);
    CHECK(c->allocator.user_data == &blocks);
    crt_runtime_drop(&rt);
    CHECK_EQ(blocks, 0);
}
static void the_environment_sets_the_number_of_workers(void)
{
    static const char *const wrong[] = {"0", "-1", "1025", "99999999999999999999", "x", "3x", "3 4", " "};
    crt_runtime *rt;
    setenv("CRT_WORKER_THREADS", "3", 1);
    rt = runtime(NULL);
    CHECK_EQ(crt_runtime_config(rt)->worker_threads, 3);
    crt_runtime_drop(&rt);
    rt = runtime(&(crt_config){.worker_threads = 2});   // the program knows better
    CHECK_EQ(crt_runtime_config(rt)->worker_threads, 2);
    crt_runtime_drop(&rt);
    rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD, .worker_threads = 4});   // as in Tokio: no effect
    CHECK_EQ(crt_runtime_config(rt)->worker_threads, 1);
    crt_runtime_drop(&rt);
    rt = current_thread();
    CHECK_EQ(crt_runtime_config(rt)->worker_threads, 1);
    crt_runtime_drop(&rt);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        setenv("CRT_WORKER_THREADS", wrong[i], 1);
        test_log_clear();
        CHECK_EQ(crt_runtime_new(&(crt_config){LOGGED}, &rt), CRT_EINVAL);
        CHECK(rt == NULL);
        CHECK(test_log_has("CRT_WORKER_THREADS"));
        CHECK(test_log_has("worker_threads"));
    }
    setenv("CRT_WORKER_THREADS", "", 1);   // empty: as if not set
    rt = runtime(NULL);
    crt_runtime_drop(&rt);
    unsetenv("CRT_WORKER_THREADS");
}
#if (defined(__linux__) && !defined(CRT_PLATFORM_KQUEUE)) || defined(_WIN32)
static void the_affinity_mask_limits_the_number_of_workers(void)
{
#ifdef _WIN32
    DWORD_PTR all, system;
    CHECK(GetProcessAffinityMask(GetCurrentProcess(), &all, &system));
    if (!SetProcessAffinityMask(GetCurrentProcess(), all & (~all + 1))) return;
    crt_runtime *rt = runtime(NULL);
    CHECK_EQ(crt_runtime_config(rt)->worker_threads, 1);
    crt_runtime_drop(&rt);
    (void)SetProcessAffinityMask(GetCurrentProcess(), all);
#else
    cpu_set_t all, one;
    CHECK_EQ(sched_getaffinity(0, sizeof all, &all), 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &all)) {
            CPU_SET(i, &one);
            break;
        }
    if (sched_setaffinity(0, sizeof one, &one)) return;   // not allowed here
    crt_runtime *rt = runtime(NULL);
    CHECK_EQ(crt_runtime_config(rt)->worker_threads, 1);
    crt_runtime_drop(&rt);
    sched_setaffinity(0, sizeof all, &all);
#endif
}
#endif
#if !defined(_WIN32)   // winpthreads knows only names and stacks that it gave itself
static crt_poll thread_look_run(void *f, crt_cx *cx)
{
    frame *self = f;
    char name[32] = "";
    size_t size = 0;
    CRT_BEGIN(self, cx);
    pthread_getname_np(pthread_self(), name, sizeof name);
    CHECK(!strcmp(name, "spinner"));
#ifdef __APPLE__
    size = pthread_get_stacksize_np(pthread_self());
#else
    pthread_attr_t attr;
    CHECK_EQ(pthread_getattr_np(pthread_self(), &attr), 0);
    pthread_attr_getstacksize(&attr, &size);
    pthread_attr_destroy(&attr);
#endif
    CHECK(size >= 24 << 20);   // the C library's own is less
    CRT_END;
}
static void threads_have_the_name_and_the_stack_asked_for(void)
{
    crt_runtime *rt = runtime(&(crt_config){.worker_threads = 1, .thread_name = "spinner", .thread_stack_size = 24 << 20});
    frame f = {.i = 0};
    CHECK_EQ(crt_block_on(rt, thread_look_run, &f), 0);
    crt_runtime_drop(&rt);
}
#endif
static int log_lines, log_worst;   // atomic
static void counting_log(int level, const char *message, void *user)
{
    CHECK(user == &log_lines);
    CHECK(message[0] && message[strlen(message) - 1] != '\n');
    ADD(log_lines, 1);
    if (level > SHARED(log_worst)) SET(log_worst, level);
}
static crt_poll failing_run(void *f, crt_cx *cx)
{
    (void)f;
    (void)cx;
    return CRT_EINVAL;   // nobody joins: a warning
}
static void the_log_gets_its_data_and_its_level(void)
{
    for (int level = 0; level <= CRT_LOG_ERROR; level++) {
        crt_runtime *rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD, .log = {counting_log, &log_lines, level}});
        crt_handle *h = crt_runtime_handle(rt);
        log_lines = log_worst = 0;
        CHECK_EQ(crt_handle_spawn(h, failing_run, &(frame){.i = 0}), 0);
        crt_runtime_turn(rt, 0);
        CHECK_EQ(log_lines, level == CRT_LOG_ERROR ? 0 : 1);
        CHECK_EQ(log_worst, level == CRT_LOG_ERROR ? 0 : CRT_LOG_WARN);
        crt_handle_drop(&h);
        crt_runtime_drop(&rt);
    }
}

// --- hooks

static struct { int start, stop, park, unpark, spawn, terminate, before, after, foreign, lost; } hooks;   // atomic
static crt_runtime *hooked;   // atomic
static void check_hook(void *data)
{
    if (data != &hooks) ADD(hooks.lost, 1);
    crt_handle *h = crt_handle_current();
    if (!h || (SHARED(hooked) && h != (crt_handle *)SHARED(hooked))) ADD(hooks.foreign, 1);
    crt_handle_drop(&h);
}
static void check_task_hook(void *data, const crt_task_meta *m)
{
    check_hook(data);
    if (!m->id || !m->fn) ADD(hooks.lost, 1);
    if (m->fn == nothing_run && (!m->name || strcmp(m->name, "nameless"))) ADD(hooks.lost, 1);
}
static void hook_start(void *d) { check_hook(d); ADD(hooks.start, 1); }
static void hook_stop(void *d) { check_hook(d); ADD(hooks.stop, 1); }
static void hook_park(void *d) { check_hook(d); ADD(hooks.park, 1); }
static void hook_unpark(void *d) { check_hook(d); ADD(hooks.unpark, 1); }
static void hook_spawn(void *d, const crt_task_meta *m) { check_task_hook(d, m); ADD(hooks.spawn, 1); }
static void hook_terminate(void *d, const crt_task_meta *m) { check_task_hook(d, m); ADD(hooks.terminate, 1); }
static void hook_before(void *d, const crt_task_meta *m) { check_task_hook(d, m); ADD(hooks.before, 1); }
static void hook_after(void *d, const crt_task_meta *m) { check_task_hook(d, m); ADD(hooks.after, 1); }
static intptr_t five(void *unused) { return unused ? 6 : 5; }
static crt_poll hooked_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 10; self->i++) {
        CHECK_EQ(crt_spawn_ex(cx, &(crt_task_desc){.fn = nothing_run, .size = sizeof(frame), .name = "nameless",
                                                   .join = &self->one}), 0);
        CRT_AWAIT(crt_join(cx, &self->one, NULL));
    }
    CRT_AWAIT(crt_sleep(cx, CRT_MS(2)));
    CHECK_EQ(crt_spawn_blocking(cx, &self->one, five, NULL), 0);
    CRT_AWAIT(crt_join(cx, &self->one, &self->result));
    CHECK_EQ(self->result, 5);
    CHECK_EQ(crt_spawn_join(cx, &self->one, nap_run, &(frame){.d = CRT_SEC(100)}), 0);
    crt_abort(self->one);
    CRT_AWAIT(self->r = crt_join(cx, &self->one, &self->result));
    CHECK_EQ(self->r, CRT_ECANCELED);
    CHECK_EQ(crt_spawn(cx, nap_run, &(frame){.d = CRT_SEC(100)}), 0);   // ends with the runtime
    CRT_END;
}
static void every_hook_is_called(void)
{
    for (int flavor = 0; flavor < 2; flavor++) {
        int workers = flavor ? 1 : 2, threads = flavor ? 0 : 2;
        frame f = {.i = 0};
        memset(&hooks, 0, sizeof hooks);
        SET(hooked, NULL);
        crt_runtime *rt = runtime(&(crt_config){.flavor = flavor, .worker_threads = workers, .hook_data = &hooks,
            .on_thread_start = hook_start, .on_thread_stop = hook_stop, .on_thread_park = hook_park,
            .on_thread_unpark = hook_unpark, .on_task_spawn = hook_spawn, .on_task_terminate = hook_terminate,
            .on_before_poll = hook_before, .on_after_poll = hook_after});
        SET(hooked, rt);
        CHECK_EQ(crt_block_on(rt, hooked_run, &f), 0);
        crt_runtime_metrics m;
        crt_metrics(rt, &m);
        crt_runtime_drop(&rt);
        CHECK_EQ(hooks.start, threads + 1);   // and one for the pool
        CHECK_EQ(hooks.stop, hooks.start);
        CHECK_EQ(hooks.spawn, 13);
        CHECK_EQ(hooks.terminate, hooks.spawn);
        CHECK_EQ(hooks.before, hooks.after);
        CHECK(hooks.before >= (int)m.worker_poll_count);
        CHECK(hooks.before >= 13 + 10);
        CHECK(hooks.park >= 1);
        CHECK_EQ(hooks.unpark, hooks.park);
        CHECK_EQ(hooks.lost, 0);      // hook_data, id, fn and name were there
        CHECK_EQ(hooks.foreign, 0);   // crt_handle_current works in every hook
    }
}
static int alone;   // atomic
static void counts_task(void *unused, const crt_task_meta *task)
{
    CHECK(!unused && task->id != 0);
    __atomic_fetch_add(&alone, 1, __ATOMIC_SEQ_CST);
}
static void a_hook_of_tasks_alone(void)
{
    for (int i = 0; i < 4; i++) {
        crt_config c = {.worker_threads = 1};
        *(i == 0 ? &c.on_task_spawn : i == 1 ? &c.on_task_terminate : i == 2 ? &c.on_before_poll : &c.on_after_poll) = counts_task;
        frame f = {.d = CRT_MS(1)};
        crt_runtime *rt = runtime(&c);
        alone = 0;
        (void)crt_block_on(rt, nap_run, &f);
        crt_runtime_drop(&rt);
        CHECK_EQ(__atomic_load_n(&alone, __ATOMIC_SEQ_CST), i < 2 ? 1 : 2);
    }
}

// ---------------------------------------------------------------------------
// block_on
// ---------------------------------------------------------------------------

static crt_poll panics_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CRT_YIELD();
    CRT_PANIC(cx, "the answer is %d", 42);
    CRT_END;
}
static crt_poll returns_run(void *f, crt_cx *cx)
{
    frame *self = f;
    (void)cx;
    return self->r;
}
static void block_on_returns_what_the_task_does(crt_runtime *rt)
{
    static const crt_poll values[] = {0, 1, INTPTR_MAX, -1, CRT_ECLOSED, CRT_ECANCELED, INT_MAX};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        frame f = {.r = values[i]};
        CHECK_EQ(crt_block_on(rt, returns_run, &f), values[i]);
    }
    frame f = {.n = 3, .d = CRT_MS(1)};
    CHECK_EQ(crt_block_on(rt, nap_run, &f), 3);   // the frame is the caller's: ready again
    CHECK_EQ(f.co.resume, 0);
    CHECK_EQ(crt_block_on(rt, nap_run, &f), 3);
    test_log_clear();
    CHECK_EQ(crt_block_on(rt, panics_run, &f), CRT_EPANIC);
    CHECK(test_log_has("the answer is 42"));
    CHECK_EQ(crt_block_on(NULL, nap_run, &f), CRT_EINVAL);
    CHECK_EQ(crt_block_on(rt, NULL, &f), CRT_EINVAL);
}
static crt_poll nested_run(void *f, crt_cx *cx)
{
    frame *self = f, inner = {.i = 0};
    crt_runtime *rt = cx->rt;
    crt_handle *h;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_block_on(rt, nothing_run, &inner), CRT_ENESTED);
    CHECK_EQ(crt_block_on(self->rt, nothing_run, &inner), CRT_ENESTED);   // another runtime
    h = crt_handle_current();
    CHECK_EQ(crt_handle_block_on(h, nothing_run, &inner), CRT_ENESTED);
    crt_handle_drop(&h);
    CHECK_EQ(crt_runtime_shutdown(rt, 0), CRT_ENESTED);
    CHECK_EQ(crt_runtime_shutdown(self->rt, CRT_FOREVER), CRT_ENESTED);
    crt_runtime_drop(&rt);
    CHECK(rt == cx->rt);   // refused, and kept
    CHECK_EQ(crt_runtime_turn(self->rt, 0), CRT_ENESTED);
    CHECK_EQ(crt_spawn_join(cx, &self->one, nothing_run, &inner), 0);
    CHECK_EQ(crt_join_blocking(&self->one, NULL), CRT_ENESTED);
    CRT_AWAIT(self->r = crt_join(cx, &self->one, NULL));
    CHECK_EQ(self->r, 0);
    CRT_END;
}
static void blocking_calls_inside_a_task_are_refused(crt_runtime *rt)
{
    crt_runtime *other = current_thread();
    frame f = {.rt = other};
    SET(ran, 0);
    test_log_clear();
    CHECK_EQ(crt_block_on(rt, nested_run, &f), 0);
    CHECK_EQ(ran, 1);   // only the one that was joined
    CHECK(test_log_has("crt_block_on inside a task"));
    CHECK_EQ(crt_runtime_shutdown(other, CRT_FOREVER), 0);   // was not shut down by the refused call
    crt_runtime_drop(&other);
}

// Several threads in block_on: each gets its result, whoever drives.
typedef struct turns {
    crt_frame co;
    crt_runtime *rt;
    crt_notify *mine, *next;
    int number, i;
} turns;
static int turn_taken;   // atomic
static crt_poll turns_run(void *f, crt_cx *cx)
{
    turns *self = f;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 50; self->i++) {   // a ring of notifications through all threads
        CRT_AWAIT(crt_notified(cx, self->mine));
        CHECK_EQ(SHARED(turn_taken) % 5, self->number);
        ADD(turn_taken, 1);
        if (self->i % 10 == self->number) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
        crt_notify_one(self->next);
    }
    CRT_RETURN(self->number);
    CRT_END;
}
static void *turns_main(void *arg)
{
    turns *t = arg;
    CHECK_EQ(crt_block_on(t->rt, turns_run, t), t->number);
    return NULL;
}
static void several_threads_block_on_one_runtime(crt_runtime *rt)
{
    crt_notify n[5];
    turns t[5];
    pthread_t thread[5];
    memset(n, 0, sizeof n);
    turn_taken = 0;
    for (int i = 0; i < 5; i++) t[i] = (turns){.rt = rt, .mine = &n[i], .next = &n[(i + 1) % 5], .number = i};
    for (int i = 0; i < 5; i++) pthread_create(&thread[i], NULL, turns_main, &t[i]);
    pause_ms(5);
    crt_notify_one(&n[0]);
    for (int i = 0; i < 5; i++) pthread_join(thread[i], NULL);
    CHECK_EQ(turn_taken, 250);
}
static void *short_main(void *arg)
{
    for (int i = 0; i < 100; i++) {
        frame f = {.n = i, .d = i % 10 == 0 ? CRT_US(100) : 0};
        CHECK_EQ(crt_block_on(arg, nap_run, &f), i);
    }
    return NULL;
}
static void threads_hand_the_driving_on(crt_runtime *rt)
{
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) pthread_create(&thread[i], NULL, short_main, rt);
    for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
}

// ---------------------------------------------------------------------------
// handles and several runtimes
// ---------------------------------------------------------------------------

static crt_poll current_run(void *f, crt_cx *cx)
{
    frame *self = f;
    crt_handle *h;
    CRT_BEGIN(self, cx);
    h = crt_handle_current();
    CHECK(h == (crt_handle *)cx->rt);
    self->h = crt_handle_clone(h);
    crt_handle_drop(&h);
    CHECK(h == NULL);
    CHECK_EQ(crt_handle_spawn_join(self->h, &self->one, nothing_run, self), 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->one, NULL));
    CHECK_EQ(self->r, 0);
    CRT_FINALLY
        crt_handle_drop(&self->h);
    CRT_END;
}
static void the_current_handle_is_known_inside_only(crt_runtime *rt)
{
    frame f = {.i = 0};
    crt_handle *none = NULL;
    CHECK(crt_handle_current() == NULL);
    CHECK_EQ(crt_block_on(rt, current_run, &f), 0);
    CHECK(crt_handle_current() == NULL);
    CHECK(crt_handle_clone(NULL) == NULL);
    crt_handle_drop(&none);
    crt_handle_drop(NULL);
    CHECK_EQ(crt_handle_spawn(none, nothing_run, &f), CRT_EINVAL);
}
static void a_handle_outlives_its_runtime(void)
{
    for (int flavor = 0; flavor < 2; flavor++) {
        crt_runtime *rt = runtime(&(crt_config){.flavor = flavor, .worker_threads = flavor ? 1 : 2, COUNTED});
        crt_handle *h = crt_runtime_handle(rt), *h2 = crt_handle_clone(h);
        crt_join_handle *join = (crt_join_handle *)1;
        frame f = {.i = 0};
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_FOREVER), 0);
        for (int i = 0; i < 2; i++) {
            CHECK_EQ(crt_handle_spawn(h, nothing_run, &f), CRT_ESHUTDOWN);
            CHECK_EQ(crt_handle_spawn_join(h, &join, nothing_run, &f), CRT_ESHUTDOWN);
            CHECK(join == NULL);
            CHECK_EQ(crt_handle_spawn_blocking(h, &join, five, NULL), CRT_ESHUTDOWN);
            CHECK(join == NULL);
            CHECK_EQ(crt_handle_block_on(h, nothing_run, &f), CRT_ESHUTDOWN);
            if (!i) CHECK_EQ(crt_block_on(rt, nothing_run, &f), CRT_ESHUTDOWN);
            if (!i) crt_runtime_drop(&rt);   // and again without the runtime
        }
        crt_handle_drop(&h);
        CHECK(SHARED(blocks) > 0);
        crt_handle_drop(&h2);
        WAIT_FOR(SHARED(blocks) == 0);
    }
}

// A task of one runtime joins a task of another, and wakes go both ways.
static crt_poll far_side_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 200; self->i++) {
        CRT_AWAIT(crt_notified(cx, self->notify));
        crt_notify_one(self->notify + 1);
    }
    CRT_RETURN(17);
    CRT_END;
}
static crt_poll near_side_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_handle_spawn_join(self->h, &self->one, far_side_run, &(frame){.notify = self->notify}), 0);
    for (self->i = 0; self->i < 200; self->i++) {
        crt_notify_one(self->notify);
        CRT_AWAIT(crt_notified(cx, self->notify + 1));
    }
    CRT_AWAIT(self->r = crt_join(cx, &self->one, &self->result));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->result, 17);
    // By crt_spawn_ex as well; and abort works across.
    CHECK_EQ(crt_spawn_ex(cx, &(crt_task_desc){.fn = far_side_run, .frame = &(frame){.notify = self->notify},
                                               .size = sizeof(frame), .handle = self->h, .join = &self->one}), 0);
    crt_abort(self->one);
    CRT_AWAIT(self->r = crt_join(cx, &self->one, &self->result));
    CHECK_EQ(self->r, CRT_ECANCELED);
    CRT_END;
}
static void tasks_of_two_runtimes_join_and_wake_each_other(crt_runtime *rt)
{
    for (int n = 1; n <= 4; n += 3) {
        crt_runtime *other = runtime(&(crt_config){.worker_threads = n});
        crt_notify notify[2];
        memset(notify, 0, sizeof notify);
        frame f = {.h = crt_runtime_handle(other), .notify = notify};
        CHECK_EQ(crt_block_on(rt, near_side_run, &f), 0);
        crt_handle_drop(&f.h);
        crt_runtime_drop(&other);
    }
}
static crt_poll orphaned_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    SET(ran, 1);
    CRT_AWAIT(self->r = crt_join(cx, &self->one, &self->result));
    CRT_RETURN(self->r);
    CRT_END;
}
static void *drop_later(void *arg)
{
    WAIT_FOR(SHARED(ran) == 1);
    pause_ms(5);
    crt_runtime *rt = arg;
    crt_runtime_drop(&rt);
    return NULL;
}
static void a_joiner_learns_that_the_other_runtime_ended(crt_runtime *rt)
{
    for (int flavor = 0; flavor < 2; flavor++) {
        crt_runtime *other = runtime(&(crt_config){.flavor = flavor, .worker_threads = flavor ? 1 : 2, COUNTED});
        crt_handle *h = crt_runtime_handle(other);
        pthread_t thread;
        frame f = {.i = 0};
        SET(ran, 0);
        CHECK_EQ(crt_handle_spawn_join(h, &f.one, nap_run, &(frame){.d = CRT_SEC(1000)}), 0);
        pthread_create(&thread, NULL, drop_later, other);
        CHECK_EQ(crt_block_on(rt, orphaned_run, &f), CRT_ECANCELED);
        pthread_join(thread, NULL);
        crt_handle_drop(&h);
        WAIT_FOR(SHARED(blocks) == 0);
    }
}
static void *runtime_main(void *unused)
{
    for (int i = 0; i < 20; i++) {
        crt_runtime *rt = runtime(&(crt_config){.flavor = i % 2, .worker_threads = 1 + (i % 2 ? 0 : i % 3)});
        frame f = {.n = i, .d = CRT_US(i * 100)};
        CHECK_EQ(crt_block_on(rt, nap_run, &f), i);
        crt_runtime_drop(&rt);
    }
    return unused;
}
static void runtimes_come_and_go_side_by_side(void)
{
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) pthread_create(&thread[i], NULL, runtime_main, NULL);
    for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
}

// ---------------------------------------------------------------------------
// stepping: turn, poll_fd, next_deadline
// ---------------------------------------------------------------------------

typedef struct counted {
    int polls, most;
} counted;
static crt_poll counted_run(void *f, crt_cx *cx)
{
    counted *self = f;
    ADD(ran, 1);
    return ++self->polls >= self->most ? 0 : again(cx);
}
#ifndef _WIN32   // a completion port cannot be waited for by anything else
static bool readable(intptr_t fd, int ms)
{
    struct pollfd p = {.fd = (int)fd, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}
#endif
static void a_turn_runs_what_is_ready_and_returns(void)
{
    crt_runtime *rt = current_thread();
    crt_handle *h = crt_runtime_handle(rt);
    SET(ran, 0);
    CHECK_EQ(crt_runtime_turn(rt, 0), 0);
    for (int i = 0; i < 5; i++) CHECK_EQ(crt_handle_spawn(h, counted_run, &(counted){.most = 3}), 0);
    CHECK_EQ(crt_runtime_turn(rt, 0), 5);   // each once, though each is ready again
    CHECK_EQ(ran, 5);
    CHECK_EQ(crt_runtime_turn(rt, 0), 5);
    CHECK_EQ(crt_runtime_turn(rt, 0), 5);
    CHECK_EQ(crt_runtime_turn(rt, 0), 0);
    for (int i = 0; i < 5; i++) CHECK_EQ(crt_handle_spawn(h, counted_run, &(counted){.most = 3}), 0);
    CHECK_EQ(crt_runtime_turn(rt, CRT_SEC(5)), 15);   // until nothing is ready
    CHECK_EQ(crt_handle_spawn(h, counted_run, &(counted){.most = INT_MAX}), 0);
    int64_t begun = real_now();
    CHECK(crt_runtime_turn(rt, CRT_MS(20)) > 0);      // or the time is up
    CHECK(real_now() - begun >= CRT_MS(20));
    CHECK(real_now() - begun < CRT_MS(500));
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
    rt = runtime(&(crt_config){.worker_threads = 1});
    CHECK_EQ(crt_runtime_turn(rt, 0), CRT_EINVAL);
    CHECK_EQ(crt_runtime_poll_fd(rt), CRT_EINVAL);
    CHECK_EQ(crt_runtime_turn(NULL, 0), CRT_EINVAL);
    crt_runtime_drop(&rt);
}
static crt_poll yields_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 10; self->i++) CRT_YIELD();
    ADD(ran, 1);
    CRT_END;
}
static void a_turn_with_time_runs_yielding_tasks_to_their_end(void)
{
    crt_runtime *rt = current_thread();
    crt_handle *h = crt_runtime_handle(rt);
    SET(ran, 0);
    CHECK_EQ(crt_handle_spawn(h, yields_run, &(frame){.i = 0}), 0);
    CHECK_EQ(crt_runtime_turn(rt, CRT_SEC(5)), 11);   // a task that yielded is ready
    CHECK_EQ(ran, 1);
    CHECK_EQ(crt_handle_spawn(h, yields_run, &(frame){.i = 0}), 0);
    for (int i = 0; i < 11; i++) {
        CHECK_EQ(crt_runtime_turn(rt, 0), 1);
        CHECK_EQ(crt_runtime_next_deadline(rt), i < 10 ? 0 : CRT_FOREVER);
    }
    CHECK_EQ(ran, 2);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}
static crt_poll holds_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    SET(ran, 1);
    CRT_AWAIT(crt_notified(cx, self->notify));
    CRT_END;
}
static void *hold_main(void *arg)
{
    frame *f = arg;
    CHECK_EQ(crt_block_on(f->rt, holds_run, f), 0);
    return NULL;
}
static void a_turn_while_another_thread_drives_is_refused(void)
{
    crt_notify n = {.q = {0}};
    frame f = {.rt = current_thread(), .notify = &n};
    pthread_t thread;
    SET(ran, 0);
    pthread_create(&thread, NULL, hold_main, &f);
    WAIT_FOR(SHARED(ran) == 1);
    CHECK_EQ(crt_runtime_turn(f.rt, 0), CRT_EBUSY);
    crt_notify_one(&n);
    pthread_join(thread, NULL);
    CHECK_EQ(crt_runtime_turn(f.rt, 0), 0);
    crt_runtime_drop(&f.rt);
}
static CRT__UNUSED void *spawn_later(void *arg)
{
    pause_ms(20);
    CHECK_EQ(crt_handle_spawn(arg, counted_run, &(counted){.most = 1}), 0);
    return NULL;
}
static CRT__UNUSED crt_poll fd_run(void *f, crt_cx *cx)
{
    frame *self = f;
    char c;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_fd_readable(cx, self->i));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(read(self->i, &c, 1), 1);
    ADD(ran, 1);
    CRT_END;
}
#ifndef _WIN32
static void the_poll_descriptor_says_when_to_turn(void)
{
    crt_runtime *rt = current_thread();
    crt_handle *h = crt_runtime_handle(rt);
    intptr_t fd = crt_runtime_poll_fd(rt);
    pthread_t thread;
    int p[2];
    CHECK(fd >= 0);
    CHECK_EQ(pipe(p), 0);
    CHECK(!readable(fd, 0));
    for (int i = 0; i < 10; i++) {
        SET(ran, 0);
        pthread_create(&thread, NULL, spawn_later, h);   // from another thread
        CHECK(readable(fd, 3000));
        pthread_join(thread, NULL);
        CHECK(crt_runtime_next_deadline(rt) == 0);
        CHECK_EQ(crt_runtime_turn(rt, 0), 1);
        CHECK_EQ(ran, 1);
        crt_runtime_turn(rt, 0);
        CHECK(!readable(fd, 0));   // silent again
        CHECK_EQ(crt_runtime_next_deadline(rt), CRT_FOREVER);
        CHECK_EQ(crt_handle_spawn(h, fd_run, &(frame){.i = p[0]}), 0);   // a descriptor
        CHECK(readable(fd, 0));
        CHECK_EQ(crt_runtime_turn(rt, 0), 1);
        crt_runtime_turn(rt, 0);
        CHECK(!readable(fd, 0));
        CHECK_EQ(write(p[1], "", 1), 1);
        CHECK(readable(fd, 3000));
        CHECK_EQ(crt_runtime_turn(rt, 0), 1);
        CHECK_EQ(ran, 2);
        CHECK_EQ(crt_handle_spawn(h, counted_run, &(counted){.most = 2}), 0);   // ready again after its turn
        crt_runtime_turn(rt, 0);
        CHECK(readable(fd, 0));
        crt_runtime_turn(rt, 0);
        crt_runtime_turn(rt, 0);
        CHECK(!readable(fd, 0));
    }
    close(p[0]);
    close(p[1]);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
    rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD, .drivers = CRT_DRIVER_TIME});
    CHECK_EQ(crt_runtime_poll_fd(rt), CRT_ENODRIVER);
    crt_runtime_drop(&rt);
}
#endif
static CRT__UNUSED crt_poll leaves_work_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    for (int i = 0; i < 300; i++) crt_spawn(cx, counted_run, &(counted){.most = 1});
    CRT_END;
}
// What a root left ready when block_on returned is something to do, too.
#ifndef _WIN32
static void the_poll_descriptor_knows_what_block_on_left(void)
{
    crt_runtime *rt = current_thread();
    frame f = {.i = 0};
    SET(ran, 0);
    CHECK_EQ(crt_block_on(rt, leaves_work_run, &f), 0);
    CHECK(SHARED(ran) < 300);   // else nothing is tested
    CHECK_EQ(crt_runtime_next_deadline(rt), 0);
    CHECK(readable(crt_runtime_poll_fd(rt), 0));
    for (int i = 0; i < 3; i++) crt_runtime_turn(rt, 0);
    CHECK_EQ(ran, 300);
    CHECK(!readable(crt_runtime_poll_fd(rt), 0));
    crt_runtime_drop(&rt);
}
#endif
static void next_deadline_says_how_long(void)
{
    crt_runtime *rt = runtime(&(crt_config){.flavor = CRT_CURRENT_THREAD, .start_paused = true});
    crt_handle *h = crt_runtime_handle(rt);
    CHECK_EQ(crt_runtime_next_deadline(rt), CRT_FOREVER);
    SET(ran, 0);
    CHECK_EQ(crt_handle_spawn(h, nap_run, &(frame){.d = CRT_MS(30)}), 0);
    CHECK_EQ(crt_runtime_next_deadline(rt), 0);
    CHECK_EQ(crt_runtime_turn(rt, 0), 1);
    CHECK_EQ(crt_runtime_next_deadline(rt), CRT_MS(30));
    CHECK_EQ(crt_runtime_turn(rt, 0), 0);   // a turn does not jump
    CHECK_EQ(crt_time_advance(rt, CRT_MS(10)), 0);
    CHECK_EQ(crt_runtime_next_deadline(rt), CRT_MS(20));
    CHECK_EQ(crt_time_advance(rt, CRT_MS(20)), 0);
    CHECK_EQ(crt_runtime_next_deadline(rt), 0);
    CHECK_EQ(crt_runtime_turn(rt, 0), 1);
    CHECK_EQ(ran, 1);
    CHECK_EQ(crt_runtime_next_deadline(rt), CRT_FOREVER);
    crt_join_handle *join;   // a timer that was cancelled is no deadline
    CHECK_EQ(crt_handle_spawn_join(h, &join, nap_run, &(frame){.d = CRT_MS(30)}), 0);
    CHECK_EQ(crt_handle_spawn(h, nap_run, &(frame){.d = CRT_MS(500)}), 0);
    CHECK_EQ(crt_runtime_turn(rt, 0), 2);
    crt_abort(join);
    CHECK_EQ(crt_runtime_turn(rt, 0), 1);
    CHECK_EQ(crt_join_blocking(&join, NULL), CRT_ECANCELED);
    CHECK(crt_runtime_next_deadline(rt) > CRT_MS(30));
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}
// A whole program inside somebody else's poll() loop, in real time.
static crt_poll program_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 20; self->i++) {
        CHECK_EQ(crt_spawn_join(cx, &self->one, nap_run, &(frame){.d = CRT_MS(self->i % 4), .n = self->i}), 0);
        CRT_AWAIT(crt_join(cx, &self->one, &self->result));
        CHECK_EQ(self->result, self->i);
        CHECK_EQ(crt_spawn_blocking(cx, &self->one, five, NULL), 0);
        CRT_AWAIT(crt_join(cx, &self->one, &self->result));
        CRT_YIELD();
    }
    CRT_RETURN(99);
    CRT_END;
}
static void a_program_runs_inside_a_foreign_loop(void)
{
    crt_runtime *rt = current_thread();
    crt_handle *h = crt_runtime_handle(rt);
    crt_join_handle *join;
    intptr_t r = 0;
    int rounds = 0;
    CHECK_EQ(crt_handle_spawn_join(h, &join, program_run, &(frame){.i = 0}), 0);
    while (!crt_is_finished(join) && rounds < 10000) {
        crt_duration d = crt_runtime_next_deadline(rt);
        // No deadline: the descriptor alone must wake us.
#ifdef _WIN32
        Sleep(d > 0);
#else
        readable(crt_runtime_poll_fd(rt), d == CRT_FOREVER ? 2000 : (int)((d + 999999) / 1000000));
#endif
        crt_runtime_turn(rt, 0);
        rounds++;
    }
    CHECK(crt_is_finished(join));
    CHECK(rounds < 1000);   // it slept in between
    CHECK_EQ(crt_join_blocking(&join, &r), 0);
    CHECK_EQ(r, 99);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}

// ---------------------------------------------------------------------------
// local sets
// ---------------------------------------------------------------------------

typedef struct local {
    crt_frame co;
    crt_local_set *set;
    int depth, i;
    pthread_t *thread;
    crt_join_handle *join;
    crt_poll r;
} local;
static int unlocked;   // NOT atomic: all tasks of a set are on one thread
static crt_poll local_run(void *f, crt_cx *cx)
{
    local *self = f;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 10; self->i++) {
        CHECK(pthread_equal(*self->thread, pthread_self()));
        unlocked++;
        if (self->i == 3 && self->depth < 3)
            CHECK_EQ(crt_spawn_local(cx, local_run, &(local){.depth = self->depth + 1, .thread = self->thread}), 0);
        if (self->i == 5 && self->depth < 2) {
            CHECK_EQ(crt_spawn_local_join(cx, &self->join, local_run,
                                          &(local){.depth = 3, .thread = self->thread}), 0);
            CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
            CHECK_EQ(self->r, 0);
        }
        if (self->i % 2) CRT_YIELD();
        else CRT_AWAIT(crt_sleep(cx, CRT_US(300)));
    }
    CRT_END;
}
typedef struct first {
    crt_frame co;
    local l;
    pthread_t *thread;
} first;
static crt_poll first_run(void *f, crt_cx *cx)
{
    first *self = f;
    CRT_BEGIN(self, cx);
    *self->thread = pthread_self();
    self->l.thread = self->thread;
    CRT_AWAIT(local_run(&self->l, cx));
    CRT_END;
}
typedef struct set_owner {
    crt_frame co;
    crt_local_set set;
    pthread_t thread;
    int i;
    crt_join_handle *join[4], *wake;
    crt_poll r;
} set_owner;
static crt_poll set_run(void *f, crt_cx *cx)
{
    set_owner *self = f;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_local_set_join(cx, &self->set));   // empty: at once
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_local_set_spawn_join(cx, &self->set, &self->join[0], first_run, &(first){.thread = &self->thread}), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    for (self->i = 1; self->i < 4; self->i++)   // from another worker, perhaps
        CHECK_EQ(crt_local_set_spawn_join(cx, &self->set, &self->join[self->i], local_run,
                                          &(local){.thread = &self->thread, .depth = 3}), 0);
    CRT_AWAIT(self->r = crt_local_set_join(cx, &self->set));
    CHECK_EQ(self->r, 0);
    for (self->i = 0; self->i < 4; self->i++) {
        CHECK(crt_is_finished(self->join[self->i]));
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        CHECK_EQ(self->r, 0);
    }
    CRT_END;
}
static crt_poll sets_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 4; self->i++) {
        unlocked = 0;
        static set_owner zero;
        CHECK_EQ(crt_spawn_join(cx, &self->one, set_run, &zero), 0);
        CRT_AWAIT(self->r = crt_join(cx, &self->one, NULL));
        CHECK_EQ(self->r, 0);
        CHECK(unlocked >= 40);
    }
    CRT_END;
}
static void the_tasks_of_a_local_set_share_one_thread(crt_runtime *rt)
{
    frame f = {.i = 0};
    CHECK_EQ(crt_block_on(rt, sets_run, &f), 0);
}
typedef struct set_user {
    crt_frame co;
    crt_local_set *set;
    crt_join_handle *join;
    crt_poll r;
    int i;
} set_user;
static crt_poll wrong_set_run(void *f, crt_cx *cx)
{
    set_user *self = f;
    CRT_BEGIN(self, cx);
    bool multi = crt_runtime_config(cx->rt)->flavor == CRT_MULTI_THREAD;
    CHECK_EQ(crt_local_set_spawn_join(cx, self->set, &self->join, nap_run, &(frame){.d = 0}), CRT_EINVAL);
    CHECK(self->join == NULL);
    CHECK_EQ(crt_spawn_local_join(cx, &self->join, nothing_run, &(frame){.d = 0}), multi ? CRT_ENOCONTEXT : 0);
    if (self->join) CRT_AWAIT(crt_join(cx, &self->join, NULL));
    CRT_END;
}
static crt_poll set_abort_run(void *f, crt_cx *cx)
{
    set_user *self = f;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_local_set_spawn_join(cx, self->set, &self->join, nap_run, &(frame){.d = CRT_SEC(100)}), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    crt_abort(self->join);
    CRT_AWAIT(crt_local_set_join(cx, self->set));
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK_EQ(self->r, CRT_ECANCELED);
    CRT_END;
}
static void a_local_set_belongs_to_one_runtime_and_can_be_aborted(crt_runtime *rt)
{
    crt_runtime *other = runtime(&(crt_config){.worker_threads = 2});
    crt_local_set set;
    memset(&set, 0, sizeof set);
    set_user u = {.set = &set};
    test_log_clear();
    SET(cleaned, 0);
    CHECK_EQ(crt_block_on(other, set_abort_run, &u), 0);
    CHECK_EQ(cleaned, 1);
    CHECK_EQ(crt_block_on(rt, wrong_set_run, &u), 0);
    if (crt_runtime_config(rt)->flavor == CRT_MULTI_THREAD) CHECK(test_log_has("crt_local_set"));
    crt_runtime_drop(&other);
}
// ---------------------------------------------------------------------------
// shutdown
// ---------------------------------------------------------------------------

typedef struct leaver {
    crt_frame co;
    crt_duration cleanup;
    int how;   // CLEAN, or what the cleanup does for ever
    crt_notify *n;
    int i;
} leaver;
enum { CLEAN, SLEEPS, YIELDS, WAKES, WAITS };
static int began;   // atomic
static crt_poll leaver_run(void *f, crt_cx *cx)
{
    leaver *self = f;
    CRT_BEGIN(self, cx);
    ADD(began, 1);
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(1000)));
    CHECK(!"slept through");
    CRT_FINALLY
        if (self->cleanup) CRT_AWAIT(crt_sleep(cx, self->cleanup));
        while (self->how == SLEEPS) CRT_AWAIT(crt_sleep(cx, CRT_SEC(1000)));
        while (self->how == YIELDS) CRT_YIELD();
        while (self->how == WAKES) CRT_AWAIT(again(cx));
        while (self->how == WAITS) CRT_AWAIT(crt_notified(cx, self->n));
        ADD(cleaned, 1);
    CRT_END;
}
static const struct { int flavor, workers; } kinds[] = {{CRT_CURRENT_THREAD, 1}, {CRT_MULTI_THREAD, 1}, {CRT_MULTI_THREAD, 4}};
#define EACH_KIND(k) for (int k = 0; k < 3; k++)
static crt_runtime *kind_counted(int k)
{
    CHECK_EQ(SHARED(blocks), 0);
    test_log_clear();
    SET(began, 0);
    SET(cleaned, 0);
    SET(ran, 0);
    return runtime(&(crt_config){.flavor = kinds[k].flavor, .worker_threads = kinds[k].workers, COUNTED, LOGGED});
}
static void spawn_leavers(crt_runtime *rt, int n, const leaver *l)
{
    crt_handle *h = crt_runtime_handle(rt);
    for (int i = 0; i < n; i++) CHECK_EQ(crt_handle_spawn(h, leaver_run, l), 0);
    if (crt_runtime_config(rt)->flavor == CRT_CURRENT_THREAD) crt_runtime_turn(rt, 0);
    WAIT_FOR(SHARED(began) == n);
    crt_handle_drop(&h);
}

static void shutdown_runs_every_cleanup_to_its_end(void)
{
    EACH_KIND(k) {
        crt_runtime *rt = kind_counted(k);
        spawn_leavers(rt, 50, &(leaver){.cleanup = CRT_MS(5)});
        int64_t begun = real_now();
        CHECK_EQ(crt_runtime_shutdown(rt, k == 1 ? CRT_SEC(10) : CRT_FOREVER), 0);
        CHECK_EQ(cleaned, 50);
        CHECK(real_now() - begun < CRT_SEC(3));
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_FOREVER), 0);   // again: nothing
        CHECK_EQ(test_log_length, 0);   // nothing to complain about
        crt_runtime_drop(&rt);
        WAIT_FOR(SHARED(blocks) == 0);
        CHECK_EQ(bytes, 0);
    }
}
static void drop_alone_shuts_down(void)
{
    EACH_KIND(k) {
        crt_runtime *rt = kind_counted(k);
        spawn_leavers(rt, 20, &(leaver){.cleanup = CRT_MS(1)});
        crt_runtime_drop(&rt);
        CHECK_EQ(cleaned, 20);
        WAIT_FOR(SHARED(blocks) == 0);
    }
}
// Never polled: the cleanup runs on a frame as spawned.
static void shutdown_cleans_up_tasks_that_never_ran(void)
{
    crt_runtime *rt = kind_counted(0);
    crt_handle *h = crt_runtime_handle(rt);
    for (int i = 0; i < 100; i++) CHECK_EQ(crt_handle_spawn(h, leaver_run, &(leaver){.how = CLEAN}), 0);
    CHECK_EQ(crt_runtime_shutdown(rt, 0), 0);
    CHECK_EQ(began, 0);
    CHECK_EQ(cleaned, 100);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
    CHECK_EQ(blocks, 0);
}
static crt_poll set_leavers_run(void *f, crt_cx *cx)
{
    set_user *self = f;
    CRT_BEGIN(self, cx);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(crt_local_set_spawn(cx, self->set, leaver_run, &(leaver){.cleanup = i % 2 ? CRT_MS(2) : 0}), 0);
    while (SHARED(began) < 10) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CRT_END;
}
static void local_tasks_are_cancelled_at_shutdown(void)
{
    EACH_KIND(k) {
        crt_local_set set;
        crt_runtime *rt = kind_counted(k);
        memset(&set, 0, sizeof set);
        set_user u = {.set = &set};
        CHECK_EQ(crt_block_on(rt, set_leavers_run, &u), 0);
        CHECK_EQ(cleaned, 0);
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_FOREVER), 0);
        CHECK_EQ(cleaned, 10);
        crt_runtime_drop(&rt);
        WAIT_FOR(SHARED(blocks) == 0);
    }
}
static void leftovers_are_counted_named_and_freed_at_the_deadline(void)
{
    for (int how = SLEEPS; how <= WAITS; how++)
        EACH_KIND(k) {
            static crt_notify n;
            crt_runtime *rt = kind_counted(k);
            crt_handle *h = crt_runtime_handle(rt);
            crt_join_handle *join = NULL;
            n = (crt_notify){.q = {0}};
            spawn_leavers(rt, 5, &(leaver){.how = how, .n = &n});
            SET(began, 0);
            spawn_leavers(rt, 7, &(leaver){.how = CLEAN});
            CHECK_EQ(crt_handle_spawn_join(h, &join, leaver_run, &(leaver){.how = how, .n = &n}), 0);
            int64_t begun = real_now();
            CHECK_EQ(crt_runtime_shutdown(rt, CRT_MS(40)), 6);
            CHECK(real_now() - begun >= CRT_MS(40));
            CHECK(real_now() - begun < CRT_MS(700));
            // A worker that was put aside for longer ends the rest later.
            CHECK_EQ(crt_join_blocking(&join, NULL), CRT_ECANCELED);
            WAIT_FOR(SHARED(rt->unfinished) == 0);
            CHECK_EQ(cleaned, 7);
            CHECK(test_log_has("did not end in time"));
            // Parked: where. Ready to run: there is no such place, and none is made up.
            if (how == SLEEPS || how == WAITS) CHECK(test_log_has("test_runtime.c:"));
            CHECK(!test_log_has("?:0"));
            crt_notify_waiters(&n);   // it has no dead waiters
            crt_notify_one(&n);
            crt_handle_drop(&h);
            crt_runtime_drop(&rt);
            WAIT_FOR(SHARED(blocks) == 0);
        }
}
static crt_poll names_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_ex(cx, &(crt_task_desc){.fn = leaver_run, .frame = &(leaver){.how = SLEEPS},
                                               .size = sizeof(leaver), .name = "the last to go"}), 0);
    while (SHARED(began) < 1) CRT_YIELD();
    CRT_END;
}
static void leftovers_are_named_by_their_name(void)
{
    EACH_KIND(k) {
        crt_runtime *rt = kind_counted(k);
        frame f = {.i = 0};
        CHECK_EQ(crt_block_on(rt, names_run, &f), 0);
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_MS(1)), 1);
        crt_runtime_drop(&rt);
        WAIT_FOR(SHARED(blocks) == 0);
        CHECK(test_log_has("the last to go"));
    }
}
static void shutdown_at_once_still_cleans_up(void)
{
    EACH_KIND(k) {
        crt_runtime *rt = kind_counted(k);
        spawn_leavers(rt, 30, &(leaver){.how = CLEAN});
        int64_t begun = real_now();
        int left = crt_runtime_shutdown(rt, 0);
        CHECK(left >= 0 && left <= 30);
        CHECK(real_now() - begun < CRT_MS(300));
        if (k == 0) CHECK_EQ(left, 0);
        crt_runtime_drop(&rt);
        WAIT_FOR(SHARED(cleaned) == 30);   // in the background where it must
        WAIT_FOR(SHARED(blocks) == 0);
    }
}

// A poll that does not return before it is let go.
static int stuck;   // atomic
static crt_poll stuck_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    SET(stuck, 1);
    while (SHARED(stuck) == 1) pause_ms(1);
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(1000)));
    CRT_FINALLY
        ADD(cleaned, 1);
    CRT_END;
}
static crt_poll stuck_result;
static void *stuck_main(void *arg)
{
    frame f = {.i = 0};
    SET(stuck_result, crt_block_on(arg, stuck_run, &f));
    return NULL;
}
static void a_stuck_poll_does_not_hold_up_a_shutdown_with_deadline(void)
{
    EACH_KIND(k) for (int timeout = 0; timeout <= 30; timeout += 30) {
        crt_runtime *rt = kind_counted(k);
        pthread_t thread;
        SET(stuck, 0);
        pthread_create(&thread, NULL, stuck_main, rt);
        WAIT_FOR(SHARED(stuck) == 1);
        int64_t begun = real_now();
        CHECK(crt_runtime_shutdown(rt, CRT_MS(timeout)) >= 1);
        CHECK(real_now() - begun < CRT_SEC(20));
        if (timeout) CHECK(test_log_has("stuck") && test_log_has("did not end in time; it is running"));
        crt_runtime_drop(&rt);
        SET(stuck, 2);
        pthread_join(thread, NULL);   // the poll returns and everything ends
        CHECK_EQ(stuck_result, CRT_ECANCELED);
        CHECK_EQ(cleaned, 1);
        WAIT_FOR(SHARED(blocks) == 0);
    }
}
static void *free_it_later(void *unused)
{
    pause_ms(50);
    SET(stuck, 2);
    return unused;
}
static void shutdown_waits_for_a_long_poll_if_told_to(void)
{
    EACH_KIND(k) {
        crt_runtime *rt = kind_counted(k);
        pthread_t thread, later;
        SET(stuck, 0);
        pthread_create(&thread, NULL, stuck_main, rt);
        WAIT_FOR(SHARED(stuck) == 1);
        pthread_create(&later, NULL, free_it_later, NULL);
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_FOREVER), 0);
        CHECK_EQ(SHARED(stuck), 2);
        CHECK_EQ(cleaned, 1);
        pthread_join(thread, NULL);
        pthread_join(later, NULL);
        CHECK_EQ(stuck_result, CRT_ECANCELED);
        crt_runtime_drop(&rt);
        WAIT_FOR(SHARED(blocks) == 0);
    }
}
// The root itself does not want to go.
static void *leaver_main(void *arg)
{
    leaver l = {.how = SLEEPS};
    SET(stuck_result, crt_block_on(arg, leaver_run, &l));
    return NULL;
}
static void a_root_that_does_not_end_is_left_at_the_deadline(void)
{
    EACH_KIND(k) {
        crt_runtime *rt = kind_counted(k);
        pthread_t thread;
        pthread_create(&thread, NULL, leaver_main, rt);
        WAIT_FOR(SHARED(began) == 1);
        int64_t begun = real_now();
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_MS(30)), 1);
        CHECK(real_now() - begun < CRT_MS(700));
        pthread_join(thread, NULL);   // block_on returns, too
        CHECK_EQ(stuck_result, CRT_ECANCELED);
        crt_runtime_drop(&rt);
        WAIT_FOR(SHARED(blocks) == 0);
    }
}
static void several_block_ons_end_at_shutdown(void)
{
    EACH_KIND(k) {
        crt_runtime *rt = kind_counted(k);
        pthread_t thread[3];
        for (int i = 0; i < 3; i++) pthread_create(&thread[i], NULL, leaver_main, rt);
        WAIT_FOR(SHARED(began) == 3);
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_MS(30)), 3);
        for (int i = 0; i < 3; i++) pthread_join(thread[i], NULL);
        crt_runtime_drop(&rt);
        WAIT_FOR(SHARED(blocks) == 0);
    }
}
static void nothing_runs_after_a_shutdown(void)
{
    for (int how = SLEEPS; how <= WAKES; how++) {
        crt_runtime *rt = kind_counted(0);
        spawn_leavers(rt, 3, &(leaver){.how = how});
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_MS(5)), 3);
        for (int i = 0; i < 3; i++) {   // the queues hold nobody any more
            CHECK(crt_runtime_turn(rt, 0) <= 0);
            CHECK(crt_runtime_turn(rt, CRT_MS(1)) <= 0);
        }
        CHECK_EQ(crt_runtime_next_deadline(rt), CRT_FOREVER);
        crt_runtime_metrics m;
        CHECK_EQ(crt_metrics(rt, &m), 0);
        CHECK_EQ(m.num_alive_tasks, 0);
        crt_runtime_drop(&rt);
        CHECK_EQ(blocks, 0);
    }
    crt_runtime *rt = kind_counted(0);
    CHECK_EQ(crt_runtime_shutdown(rt, -1), CRT_EINVAL);
    CHECK_EQ(crt_runtime_shutdown(NULL, 0), CRT_EINVAL);
    CHECK_EQ(crt_runtime_shutdown(rt, 0), 0);
    crt_runtime_drop(&rt);
}

// Threads spawn as fast as they can while the runtime goes down.
static int accepted, refused_spawns;   // atomic
static void *storm_main(void *arg)
{
    crt_handle *h = arg;
    for (;;) {
        int e = crt_handle_spawn(h, nap_run, &(frame){.d = CRT_US(50)});
        if (e) {
            CHECK_EQ(e, CRT_ESHUTDOWN);
            ADD(refused_spawns, 1);
            return NULL;
        }
        if (ADD(accepted, 1) % 64 == 0) test_pause_us(200);
    }
}
static void every_task_accepted_during_shutdown_is_cleaned_up(void)
{
    EACH_KIND(k) for (int round = 0; round < 3; round++) {
        crt_runtime *rt = kind_counted(k);
        crt_handle *h = crt_runtime_handle(rt);
        pthread_t thread[3];
        SET(accepted, 0);
        SET(refused_spawns, 0);
        for (int i = 0; i < 3; i++) pthread_create(&thread[i], NULL, storm_main, h);
        WAIT_FOR(SHARED(accepted) > 100);
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_FOREVER), 0);
        for (int i = 0; i < 3; i++) pthread_join(thread[i], NULL);
        CHECK_EQ(refused_spawns, 3);
        CHECK_EQ(cleaned, accepted);
        crt_handle_drop(&h);
        crt_runtime_drop(&rt);
        WAIT_FOR(SHARED(blocks) == 0);
    }
}
// Join handles, wakers and handles may go last, and still work.
static crt_waker kept_waker;
static crt_poll waker_run(void *f, crt_cx *cx)
{
    (void)f;
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    if (!kept_waker.vtable) kept_waker = crt_waker_clone(cx);
    SET(ran, 1);
    return CRT_PENDING;
}
static void what_outlives_the_runtime_keeps_its_memory(void)
{
    EACH_KIND(k) for (int order = 0; order < 6; order++) {
        crt_runtime *rt = kind_counted(k);
        crt_handle *h = crt_runtime_handle(rt);
        crt_join_handle *join;
        kept_waker = (crt_waker){NULL, NULL};
        CHECK_EQ(crt_handle_spawn_join(h, &join, waker_run, &(frame){.i = 0}), 0);
        if (k == 0) crt_runtime_turn(rt, 0);
        WAIT_FOR(SHARED(ran) == 1);
        crt_runtime_drop(&rt);
        CHECK(SHARED(blocks) > 0);
        crt_wake_by_ref(&kept_waker);   // harmless
        crt_abort(join);
        for (int i = 0; i < 3; i++) {
            int which = (order / 2 + (order % 2 ? 3 - i : i)) % 3;
            CHECK(SHARED(blocks) > 0);
            if (which == 0) CHECK_EQ(crt_join_blocking(&join, NULL), CRT_ECANCELED);
            if (which == 1) crt_wake(&kept_waker);
            if (which == 2) crt_handle_drop(&h);
        }
        WAIT_FOR(SHARED(blocks) == 0);
    }
}
static crt_poll panicker_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(2)));
    CRT_PANIC(cx, "fatal %s", "enough");
    CRT_END;
}
static crt_poll panic_root_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn(cx, leaver_run, &(leaver){.cleanup = CRT_MS(1)}), 0);
    CHECK_EQ(crt_spawn(cx, panicker_run, &(frame){.i = 0}), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(1000)));
    CRT_END;
}
static void a_panic_ends_the_runtime_if_the_config_says_so(void)
{
    EACH_KIND(k) {
        CHECK_EQ(SHARED(blocks), 0);
        test_log_clear();
        SET(cleaned, 0);
        crt_runtime *rt = runtime(&(crt_config){.flavor = kinds[k].flavor, .worker_threads = kinds[k].workers,
                                                .unhandled_panic = CRT_PANIC_SHUTDOWN, COUNTED, LOGGED});
        crt_handle *h = crt_runtime_handle(rt);
        frame f = {.i = 0};
        CHECK_EQ(crt_block_on(rt, panic_root_run, &f), CRT_ECANCELED);
        CHECK(test_log_has("fatal enough"));
        CHECK_EQ(crt_handle_spawn(h, nothing_run, &f), CRT_ESHUTDOWN);
        CHECK_EQ(crt_block_on(rt, nothing_run, &f), CRT_ESHUTDOWN);
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_SEC(5)), 0);
        CHECK_EQ(cleaned, 1);
        crt_handle_drop(&h);
        crt_runtime_drop(&rt);
        WAIT_FOR(SHARED(blocks) == 0);
    }
}
static crt_poll load_run(void *f, crt_cx *cx)
{
    frame *self = f;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 64; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], nap_run, &(frame){.d = CRT_US(self->i * 20)}), 0);
    for (self->i = 0; self->i < 1000; self->i++) CHECK_EQ(crt_spawn(cx, nothing_run, self), 0);
    for (self->i = 0; self->i < 64; self->i++) CRT_AWAIT(crt_join(cx, &self->join[self->i], NULL));
    CRT_END;
}
static void the_metric_of_memory_is_exact_and_all_of_it_comes_back(void)
{
    EACH_KIND(k) {
        crt_runtime *rt = kind_counted(k);
        crt_runtime_metrics m;
        for (int i = 0; i < 3; i++) {
            frame f = {.i = 0};
            CHECK_EQ(crt_block_on(rt, load_run, &f), 0);
        }
        WAIT_FOR((crt_metrics(rt, &m), m.num_alive_tasks == 0) || (k == 0 && crt_runtime_turn(rt, 0) < 0));
        CHECK_EQ(m.bytes_allocated, SHARED(bytes));
        crt_runtime_drop(&rt);
        WAIT_FOR(SHARED(blocks) == 0);
        CHECK_EQ(bytes, 0);
    }
}
static void building_undoes_itself_when_memory_runs_out(void)
{
    EACH_KIND(k) {
        int failures = 0;
        for (int n = 0; n < 100; n++) {
            crt_runtime *rt = (crt_runtime *)1;
            SET(countdown, n);
            int e = crt_runtime_new(&(crt_config){.flavor = kinds[k].flavor, .worker_threads = kinds[k].workers, COUNTED, LOGGED}, &rt);
            SET(countdown, -1);
            if (!e) {
                crt_runtime_drop(&rt);
                WAIT_FOR(SHARED(blocks) == 0);
                break;
            }
            failures++;
            CHECK_EQ(e, CRT_ENOMEM);
            CHECK(rt == NULL);
            WAIT_FOR(SHARED(blocks) == 0);
        }
        CHECK(failures >= 3 && failures < 100);
    }
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST(a_bad_value_is_refused_and_named);
    TEST(defaults_are_filled_in);
    TEST(given_values_are_kept);
    TEST(the_environment_sets_the_number_of_workers);
#if (defined(__linux__) && !defined(CRT_PLATFORM_KQUEUE)) || defined(_WIN32)
    TEST(the_affinity_mask_limits_the_number_of_workers);
#endif
#ifndef _WIN32
    TEST(threads_have_the_name_and_the_stack_asked_for);
#endif
    TEST(the_log_gets_its_data_and_its_level);
    TEST(every_hook_is_called);
    TEST(a_hook_of_tasks_alone);
    TEST_ON_EACH_WITH(block_on_returns_what_the_task_does, LOGGED);
    TEST_ON_EACH_WITH(blocking_calls_inside_a_task_are_refused, LOGGED);
    TEST_ON_EACH(several_threads_block_on_one_runtime);
    TEST_ON_EACH(threads_hand_the_driving_on);
    TEST_ON_EACH(the_current_handle_is_known_inside_only);
    TEST(a_handle_outlives_its_runtime);
    TEST_ON_EACH(tasks_of_two_runtimes_join_and_wake_each_other);
    TEST_ON_EACH(a_joiner_learns_that_the_other_runtime_ended);
    TEST(runtimes_come_and_go_side_by_side);
    TEST(a_turn_runs_what_is_ready_and_returns);
    TEST(a_turn_with_time_runs_yielding_tasks_to_their_end);
    TEST(a_turn_while_another_thread_drives_is_refused);
#ifndef _WIN32
    TEST(the_poll_descriptor_says_when_to_turn);
#endif
#ifndef _WIN32
    TEST(the_poll_descriptor_knows_what_block_on_left);
#endif
    TEST(next_deadline_says_how_long);
    TEST(a_program_runs_inside_a_foreign_loop);
    TEST_ON_EACH(the_tasks_of_a_local_set_share_one_thread);
    TEST_ON_EACH_WITH(a_local_set_belongs_to_one_runtime_and_can_be_aborted, LOGGED);
    TEST(local_tasks_are_cancelled_at_shutdown);
    TEST(shutdown_runs_every_cleanup_to_its_end);
    TEST(drop_alone_shuts_down);
    TEST(shutdown_cleans_up_tasks_that_never_ran);
    TEST(leftovers_are_counted_named_and_freed_at_the_deadline);
    TEST(leftovers_are_named_by_their_name);
    TEST(shutdown_at_once_still_cleans_up);
    TEST(a_stuck_poll_does_not_hold_up_a_shutdown_with_deadline);
    TEST(shutdown_waits_for_a_long_poll_if_told_to);
    TEST(a_root_that_does_not_end_is_left_at_the_deadline);
    TEST(several_block_ons_end_at_shutdown);
    TEST(nothing_runs_after_a_shutdown);
    TEST(every_task_accepted_during_shutdown_is_cleaned_up);
    TEST(what_outlives_the_runtime_keeps_its_memory);
    TEST(a_panic_ends_the_runtime_if_the_config_says_so);
    TEST(the_metric_of_memory_is_exact_and_all_of_it_comes_back);
    TEST(building_undoes_itself_when_memory_runs_out);
    return test_end();
}
