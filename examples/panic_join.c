// panic_join.c: what happens when a task panics, is aborted, or blocks?
//
// A panic ends one task: its CRT_FINALLY runs, the join reports CRT_EPANIC with
// the message, everybody else goes on. A panic that nobody joins is not lost
// either: it reaches the log.

#define CRT_IMPLEMENTATION
#include "../crt.h"

#include <stdatomic.h>
#include <time.h>

// Panics two calls deep, in a coroutine that another one awaits.
typedef struct inner {
    crt_frame co;
} inner;

static crt_poll inner_run(void *frame, crt_cx *cx)
{
    inner *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
    CRT_PANIC(cx, "the answer is %d, not %d", 42, 41);
    CRT_FINALLY
        printf("  inner cleans up first\n");
    CRT_END;
}

typedef struct outer {
    crt_frame co;
    inner inner;
} outer;

static crt_poll outer_run(void *frame, crt_cx *cx)
{
    outer *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(inner_run(&self->inner, cx));
    printf("  never printed\n");
    CRT_FINALLY
        printf("  outer cleans up next\n");
    CRT_END;
}

// Lives on while its sibling panics.
typedef struct sibling {
    crt_frame co;
    int beats;
} sibling;

static crt_poll sibling_run(void *frame, crt_cx *cx)
{
    sibling *self = frame;
    CRT_BEGIN(self, cx);
    for (; self->beats < 5; self->beats++)
        CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
    CRT_RETURN(self->beats);
    CRT_END;
}

// Sleeps until it is aborted.
typedef struct sleeper {
    crt_frame co;
} sleeper;

static crt_poll sleeper_run(void *frame, crt_cx *cx)
{
    sleeper *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(3600)));
    CRT_FINALLY
        printf("  the sleeper says goodbye before it goes\n");
        fflush(stdout);
        CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));   // cleanup may await
    CRT_END;
}

// A detached task whose panic nobody will join.
static crt_poll orphan_run(void *frame, crt_cx *cx)
{
    sleeper *self = frame;
    CRT_BEGIN(self, cx);
    CRT_PANIC(cx, "nobody listens");
    CRT_END;
}

// Blocking jobs. They run on a thread of their own, so they may take their time.
static atomic_int slow_job_runs, never_job_runs;

static intptr_t slow_job(void *arg)
{
    (void)arg;
    atomic_store(&slow_job_runs, 1);
    clock_t begin = clock();
    while ((clock() - begin) * 1000 / CLOCKS_PER_SEC < 50) {}
    return 7;
}

static intptr_t never_job(void *arg)
{
    (void)arg;
    atomic_store(&never_job_runs, 1);
    return 0;
}

typedef struct demo {
    crt_frame co;
    crt_join_handle *panicking, *sibling, *sleeper, *slow, *queued;
    intptr_t result;
    crt_poll n;
} demo;

static crt_poll demo_run(void *frame, crt_cx *cx)
{
    demo *self = frame;
    CRT_BEGIN(self, cx);

    printf("a panic, seen by the join:\n");
    self->n = crt_spawn_join(cx, &self->panicking, outer_run, &(outer){0});
    if (self->n < 0) CRT_RETURN(self->n);
    self->n = crt_spawn_join(cx, &self->sibling, sibling_run, &(sibling){0});
    if (self->n < 0) CRT_RETURN(self->n);
    CRT_AWAIT(self->n = crt_join(cx, &self->panicking, &self->result));
    // After CRT_EPANIC the handle stays, because it holds the message.
    printf("  joined: %s, \"%s\"\n", crt_err_name((int)self->n),
           crt_join_panic_message(self->panicking));
    crt_detach(&self->panicking);
    CRT_AWAIT(self->n = crt_join(cx, &self->sibling, &self->result));
    printf("  the sibling was not disturbed: %s, result %d\n",
           self->n == 0 ? "ok" : crt_err_name((int)self->n), (int)self->result);

    printf("an abort:\n");
    self->n = crt_spawn_join(cx, &self->sleeper, sleeper_run, &(sleeper){0});
    if (self->n < 0) CRT_RETURN(self->n);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));   // let it fall asleep
    crt_abort(self->sleeper);
    CRT_AWAIT(self->n = crt_join(cx, &self->sleeper, NULL));
    printf("  joined: %s\n", crt_err_name((int)self->n));

    printf("blocking jobs, one thread for them:\n");
    self->n = crt_spawn_blocking(cx, &self->slow, slow_job, NULL);
    if (self->n < 0) CRT_RETURN(self->n);
    self->n = crt_spawn_blocking(cx, &self->queued, never_job, NULL);
    if (self->n < 0) CRT_RETURN(self->n);
    while (!atomic_load(&slow_job_runs))
        CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    crt_abort(self->slow);     // too late: a job that runs cannot be interrupted
    crt_abort(self->queued);   // in time: it has not begun
    CRT_AWAIT(self->n = crt_join(cx, &self->slow, &self->result));
    printf("  the running one: %s, result %d\n",
           self->n == 0 ? "ok" : crt_err_name((int)self->n), (int)self->result);
    CRT_AWAIT(self->n = crt_join(cx, &self->queued, &self->result));
    printf("  the queued one: %s, it %s\n", crt_err_name((int)self->n),
           atomic_load(&never_job_runs) ? "ran" : "never ran");

    printf("a panic that nobody joins:\n");
    self->n = crt_spawn(cx, orphan_run, &(sleeper){0});
    if (self->n < 0) CRT_RETURN(self->n);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
    printf("the runtime lives on\n");
    CRT_FINALLY
        crt_detach(&self->panicking);
        crt_detach(&self->sibling);
        crt_detach(&self->sleeper);
        crt_detach(&self->slow);
        crt_detach(&self->queued);
    CRT_END;
}

static void print_log(int level, const char *message, void *user_data)
{
    (void)level;
    (void)user_data;
    printf("  log: %s\n", message);
}

int main(void)
{
    crt_config config = {.worker_threads = 2, .max_blocking_threads = 1};
    config.log.func = print_log;
    crt_runtime *rt;
    int e = crt_runtime_new(&config, &rt);
    if (e < 0) {
        fprintf(stderr, "runtime: %s\n", crt_strerror(e));
        return 1;
    }
    demo frame = {0};
    e = (int)crt_block_on(rt, demo_run, &frame);
    if (e < 0) fprintf(stderr, "%s\n", crt_strerror(e));
    crt_runtime_drop(&rt);
    return e < 0;
}
