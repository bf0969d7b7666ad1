// sleepers.c: 10,000 tasks that each sleep for one millisecond, on both flavors.
//
//     ./sleepers [tasks] [rounds]
//
// No thread sleeps: a task that waits is one entry in the timing wheel. A round
// takes far less than 10,000 ms, and not much more than the cost of spawning,
// parking, waking and joining each task once.

#define CRT_IMPLEMENTATION
#include "../crt.h"

#include <stdlib.h>

typedef struct sleeper {
    crt_frame co;
} sleeper;

static crt_poll sleeper_run(void *frame, crt_cx *cx)
{
    sleeper *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CRT_END;
}

// One round: spawn them all, join them all, look at the clock.
typedef struct sleepers {
    crt_frame co;
    crt_join_handle **joins;
    size_t wanted, spawned, joined;
    crt_instant begin;
    crt_duration took;
} sleepers;

static crt_poll sleepers_run(void *frame, crt_cx *cx)
{
    sleepers *self = frame;
    CRT_BEGIN(self, cx);
    self->joins = calloc(self->wanted, sizeof *self->joins);
    if (!self->joins) CRT_RETURN(CRT_ENOMEM);
    self->begin = crt_now(cx);
    for (; self->spawned < self->wanted; self->spawned++) {
        int e = crt_spawn_join(cx, &self->joins[self->spawned], sleeper_run, &(sleeper){0});
        if (e < 0) CRT_RETURN(e);
    }
    // The index lives in the frame: a local would not survive the await.
    for (; self->joined < self->spawned; self->joined++)
        CRT_AWAIT(crt_join(cx, &self->joins[self->joined], NULL));
    self->took = crt_now(cx) - self->begin;
    CRT_FINALLY
        if (self->joins)
            for (size_t i = 0; i < self->spawned; i++) crt_detach(&self->joins[i]);
        free(self->joins);
        self->joins = NULL;
    CRT_END;
}

static int compare(const void *a, const void *b)
{
    const crt_duration x = *(const crt_duration *)a, y = *(const crt_duration *)b;
    return (x > y) - (x < y);
}

static int measure(const char *name, int flavor, size_t tasks, size_t rounds)
{
    crt_config config = {.flavor = flavor};
    crt_runtime *rt;
    int e = crt_runtime_new(&config, &rt);
    if (e < 0) {
        fprintf(stderr, "runtime: %s\n", crt_strerror(e));
        return e;
    }
    crt_duration *took = calloc(rounds, sizeof *took);
    for (size_t i = 0; took && e >= 0 && i < rounds; i++) {
        sleepers frame = {.wanted = tasks};
        e = (int)crt_block_on(rt, sleepers_run, &frame);
        took[i] = frame.took;
    }
    if (took && e >= 0) {
        qsort(took, rounds, sizeof *took, compare);
        const double median = (double)took[rounds / 2] / 1e9;
        crt_runtime_metrics m;
        crt_metrics(rt, &m);
        printf("%-15s %2d worker%s %zu tasks in %6.2f ms (best %6.2f): %9.0f tasks/s, "
               "%llu polls, %llu stolen\n",
               name, (int)m.num_workers, m.num_workers == 1 ? ": " : "s:", tasks, median * 1e3,
               (double)took[0] / 1e6, (double)tasks / median,
               (unsigned long long)m.worker_poll_count,
               (unsigned long long)m.worker_steal_count);
    } else {
        fprintf(stderr, "%s: %s\n", name, crt_strerror(took ? e : CRT_ENOMEM));
    }
    free(took);
    crt_runtime_drop(&rt);
    return e;
}

int main(int argc, char **argv)
{
    const long tasks = argc > 1 ? strtol(argv[1], NULL, 10) : 10000;
    const long rounds = argc > 2 ? strtol(argv[2], NULL, 10) : 11;
    if (tasks < 1 || tasks > 10000000 || rounds < 1 || rounds > 100000) {
        fprintf(stderr, "usage: sleepers [tasks] [rounds]\n");
        return 2;
    }
    int a = measure("current_thread", CRT_CURRENT_THREAD, (size_t)tasks, (size_t)rounds);
    int b = measure("multi_thread", CRT_MULTI_THREAD, (size_t)tasks, (size_t)rounds);
    return a < 0 || b < 0;
}
