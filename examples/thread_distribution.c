// thread_distribution.c: 100 tasks on 4 workers. Who ran how many?
//
// All tasks are spawned by one task, so all of them start in the queue of one
// worker. The others have nothing to do and steal: that is what spreads them.
// The counts differ from run to run; their sum does not.

#define CRT_IMPLEMENTATION
#include "../crt.h"

#include <stdatomic.h>

enum { TASKS = 100, WORKERS = 4, THREADS_MAX = 64 };

// Which thread is this? Numbered in the order in which they first ran a task.
static atomic_int thread_count;
static _Thread_local int thread_number = -1;
static atomic_int tasks_on[THREADS_MAX];

static int this_thread(void)
{
    if (thread_number < 0) thread_number = atomic_fetch_add(&thread_count, 1);
    return thread_number < THREADS_MAX ? thread_number : THREADS_MAX - 1;
}

typedef struct work {
    crt_frame co;
    crt_instant until;
} work;

static crt_poll work_run(void *frame, crt_cx *cx)
{
    work *self = frame;
    CRT_BEGIN(self, cx);
    atomic_fetch_add(&tasks_on[this_thread()], 1);
    // A millisecond of computing. With no work at all, one worker would be done
    // before another had woken up to steal.
    self->until = crt_now(cx) + CRT_MS(1);
    while (crt_now(cx) < self->until) {
    }
    CRT_END;
}

typedef struct boss {
    crt_frame co;
    crt_join_handle *joins[TASKS];
    int i;
} boss;

static crt_poll boss_run(void *frame, crt_cx *cx)
{
    boss *self = frame;
    CRT_BEGIN(self, cx);
    for (int i = 0; i < TASKS; i++) {
        int e = crt_spawn_join(cx, &self->joins[i], work_run, &(work){0});
        if (e < 0) CRT_RETURN(e);
    }
    for (self->i = 0; self->i < TASKS; self->i++)
        CRT_AWAIT(crt_join(cx, &self->joins[self->i], NULL));
    CRT_FINALLY
        for (int i = 0; i < TASKS; i++) crt_detach(&self->joins[i]);
    CRT_END;
}

int main(void)
{
    crt_config config = {.worker_threads = WORKERS};
    crt_runtime *rt;
    int e = crt_runtime_new(&config, &rt);
    if (e < 0) {
        fprintf(stderr, "runtime: %s\n", crt_strerror(e));
        return 1;
    }
    static boss frame;
    e = (int)crt_block_on(rt, boss_run, &frame);

    int threads = atomic_load(&thread_count), sum = 0;
    if (threads > THREADS_MAX) threads = THREADS_MAX;
    for (int i = 0; i < threads; i++) {
        const int n = atomic_load(&tasks_on[i]);
        sum += n;
        printf("thread %d ran %3d tasks  ", i, n);
        for (int k = 0; k < n; k++) putchar('#');
        putchar('\n');
    }
    crt_runtime_metrics m;
    crt_metrics(rt, &m);
    printf("%d of %d tasks, %d threads; a task was stolen %llu times\n", sum, TASKS, threads,
           (unsigned long long)m.worker_steal_count);
    crt_runtime_drop(&rt);
    return e < 0 || sum != TASKS;
}
