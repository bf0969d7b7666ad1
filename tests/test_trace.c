// CRT_ENABLE_TRACE: polls, wakes and times of each task, read out and in the dump.
#define CRT_IMPLEMENTATION
#define CRT_ENABLE_TRACE
#include "crt.h"
#include "harness.h"

typedef struct traced {
    crt_frame co;
    crt_notify *gate;
    int i;
} traced;
static void spin(crt_duration d)
{
    for (int64_t end = crt__clock() + d; crt__clock() < end;) {}
}
// Six polls: it waits at a gate, yields, yields after it has woken itself, sleeps, waits at a gate, ends.
static crt_poll traced_run(void *frame, crt_cx *cx)
{
    traced *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_notified(cx, &self->gate[0]));
    spin(CRT_MS(3));
    CRT_YIELD();
    crt_waker me = crt_waker_clone(cx);
    crt_wake(&me);
    CRT_YIELD();
    CRT_AWAIT(crt_sleep(cx, CRT_MS(20)));
    CRT_AWAIT(crt_notified(cx, &self->gate[1]));
    CRT_END;
}
typedef struct looks {
    crt_frame co;
    crt_notify gate[2];
    crt_join_handle *h;
    uint64_t id;
    crt_task_metrics m;
    int line;
} looks;
static crt_poll looks_run(void *frame, crt_cx *cx)
{
    looks *self = frame;
    CRT_BEGIN(self, cx);
    self->line = __LINE__ + 1;
    CHECK_EQ(crt_spawn_join(cx, &self->h, traced_run, &(traced){.gate = self->gate}), 0);
    self->id = crt_join_id(self->h);
    do CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
    while (crt_metrics_task(cx->rt, self->id, &self->m) == 0 && self->m.polls < 1);
    CHECK_EQ(self->m.polls, 1);
    CHECK_EQ(self->m.wakes, 0);
    CHECK_EQ(self->m.since_wake, CRT_FOREVER);
    CHECK(self->m.busy < CRT_MS(3) * test_patience(1));
    crt_notify_one(&self->gate[0]);
    do CRT_AWAIT(crt_sleep(cx, CRT_MS(40)));
    while (crt_metrics_task(cx->rt, self->id, &self->m) == 0 && self->m.polls < 5);
    CHECK_EQ(self->m.id, self->id);
    CHECK_EQ(self->m.polls, 5);
    CHECK_EQ(self->m.wakes, 3);        // the gate, itself, the timer
    CHECK_EQ(self->m.self_wakes, 1);
    CHECK(self->m.busy >= CRT_MS(3));
    CHECK(self->m.scheduled > 0);
    CHECK(self->m.idle >= CRT_MS(20));
    CHECK(self->m.total >= self->m.busy + self->m.scheduled + self->m.idle);
    CHECK(self->m.since_wake < self->m.total);
    {
        FILE *f = tmpfile();
        static char text[4096];
        char want[64];
        CHECK_EQ(crt_dump(cx->rt, f), 2);
        rewind(f);
        text[fread(text, 1, sizeof text - 1, f)] = 0;
        fclose(f);
        snprintf(want, sizeof want, "task " CRT__ID " ", (crt__id)self->id);
        CHECK(strstr(text, want) != NULL);
        snprintf(want, sizeof want, "test_trace.c:%d, polls 5, wakes 3 (self 1), us: busy ", self->line);
        CHECK(strstr(text, want) != NULL);
        CHECK(strstr(text, ", spawned at crt_block_on, polls ") != NULL);
        snprintf(want, sizeof want, "test_trace.c:%d", self->line);
        size_t n = self->m.spawned_at ? strlen(self->m.spawned_at) : 0;
        CHECK(n >= strlen(want) && !strcmp(self->m.spawned_at + n - strlen(want), want));
        if (test__bad) fprintf(stderr, "%s", text);
    }
    crt_notify_one(&self->gate[1]);
    CRT_AWAIT(crt_join(cx, &self->h, NULL));
    CHECK_EQ(crt_metrics_task(cx->rt, self->id, &self->m), -ENOENT);
    CHECK_EQ(crt_metrics_task(cx->rt, self->id, NULL), CRT_EINVAL);
    CRT_END;
}
static void a_task_is_traced(crt_runtime *rt)
{
    looks l = {.h = NULL};
    CHECK_EQ(crt_block_on(rt, looks_run, &l), 0);
}

// A task that yielded could run: while another does, it is scheduled, not idle.
typedef struct yields {
    crt_frame co;
    crt_duration each;
    crt_task_metrics m;
    int i;
} yields;
static crt_poll yields_run(void *frame, crt_cx *cx)
{
    yields *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 4; self->i++) {
        spin(self->each);
        CRT_YIELD();
    }
    CHECK_EQ(crt_metrics_task(cx->rt, crt_task_id(cx), &self->m), 0);
    CHECK_EQ(self->m.polls, 5);
    CHECK_EQ(self->m.wakes, 0);
    if (!self->each) CHECK(self->m.scheduled >= CRT_MS(9));
    else CHECK(self->m.busy >= CRT_MS(12));
    CRT_END;
}
static crt_poll yields_root(void *frame, crt_cx *cx)
{
    static crt_join_handle *h[2];
    looks *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_join(cx, &h[0], yields_run, &(yields){.each = CRT_MS(3)}), 0);
    CHECK_EQ(crt_spawn_join(cx, &h[1], yields_run, &(yields){.each = 0}), 0);
    CRT_AWAIT(crt_join(cx, &h[0], NULL));
    CRT_AWAIT(crt_join(cx, &h[1], NULL));
    CRT_END;
}
static void a_yield_is_scheduled_time(void)
{
    crt_runtime *rt = NULL;
    looks l = {.h = NULL};
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt), 0);
    CHECK_EQ(crt_block_on(rt, yields_root, &l), 0);
    crt_runtime_drop(&rt);
}

// Looked at from outside while they run, wake one another and end.
typedef struct many {
    crt_frame co;
    int i;
} many;
static crt_poll many_run(void *frame, crt_cx *cx)
{
    many *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 50; self->i++) CRT_AWAIT(crt_sleep(cx, CRT_US(200)));
    CRT_END;
}
static void looking_disturbs_nobody(void)
{
    crt_runtime *rt = NULL;
    crt_runtime_metrics m;
    CHECK_EQ(crt_runtime_new(&(crt_config){.worker_threads = 3, .poll_histogram = CRT_HISTOGRAM_LOG}, &rt), 0);
    crt_handle *h = crt_runtime_handle(rt);
    for (int i = 0; i < 64; i++) CHECK_EQ(crt_handle_spawn(h, many_run, &(many){.i = 0}), 0);
    FILE *f = tmpfile();
    do {
        crt_task_metrics t;
        crt_dump(rt, f);
        for (uint64_t id = 1; id < 40; id++) {
            int e = crt_metrics_task(rt, id, &t);
            CHECK(e == 0 || e == -ENOENT);
            if (e == 0) CHECK(t.self_wakes <= t.wakes);
        }
        crt_metrics(rt, &m);
    } while (m.num_alive_tasks > 0);
    fclose(f);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}

// Without memory for its record a task runs all the same, untraced.
static void *no_record(size_t n, void *unused) { return (void)unused, n == sizeof(crt__ext_trace) ? NULL : malloc(n); }
static void frees(void *p, void *unused) { (void)unused, free(p); }
static int job_may_end;   // atomic
static intptr_t waiting_job(void *unused)
{
    (void)unused;
    while (!__atomic_load_n(&job_may_end, __ATOMIC_SEQ_CST)) {}
    return 0;
}
static void a_task_without_a_record(void)
{
    static crt_notify gate[2];
    crt_task_metrics m;
    crt_join_handle *join, *job;
    int n;
    for (int kept = 0; kept < 2; kept++) {
        crt_runtime *rt = NULL;
        crt_config c = {.flavor = CRT_CURRENT_THREAD};
        if (!kept) c.allocator = (crt_allocator){no_record, frees, NULL};
        memset(gate, 0, sizeof gate);
        CHECK_EQ(crt_runtime_new(&c, &rt), 0);
        crt_handle *h = crt_runtime_handle(rt);
        job_may_end = 0;
        CHECK_EQ(crt_handle_spawn_blocking(h, &job, waiting_job, NULL), 0);
        CHECK_EQ(crt_handle_spawn_join(h, &join, traced_run, &(traced){.gate = gate}), 0);
        CHECK_EQ(crt_runtime_turn(rt, 0), 1);
        crt_notify_one(&gate[0]);   // from outside
        while (crt_runtime_turn(rt, CRT_MS(30)) > 0) {}
        CHECK_EQ(crt_metrics_task(rt, crt_join_id(join), &m), kept ? 0 : CRT_ENOMEM);
        if (kept) CHECK(m.wakes >= 2 && m.self_wakes == 1);
        CHECK_EQ(crt_metrics_task(rt, crt_join_id(job), &m), -ENOENT);   // no task
        CHECK_EQ(crt_metrics_task(NULL, crt_join_id(join), &m), CRT_EINVAL);
        char *text = test_dump(rt, &n);
        CHECK_EQ(n, 1);
        CHECK(!strstr(text, "polls ") == !kept);
        free(text);
        crt_notify_one(&gate[1]);
        while (!crt_is_finished(join)) crt_runtime_turn(rt, CRT_MS(5));
        CHECK_EQ(crt_join_blocking(&join, NULL), 0);
        __atomic_store_n(&job_may_end, 1, __ATOMIC_SEQ_CST);
        CHECK_EQ(crt_join_blocking(&job, NULL), 0);
        crt_handle_drop(&h);
        crt_runtime_drop(&rt);
    }
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST_ON_EACH(a_task_is_traced);
    TEST(a_yield_is_scheduled_time);
    TEST(looking_disturbs_nobody);
    TEST(a_task_without_a_record);
    return test_end();
}
