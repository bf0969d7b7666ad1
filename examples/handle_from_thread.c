// handle_from_thread.c: a runtime used from a thread that it does not own.
//
// A handle may be copied to any thread. There it spawns tasks and blocking jobs
// and waits for them, without a crt_cx. It stays valid after the runtime is gone.

#define CRT_IMPLEMENTATION
#include "../crt.h"

#include <pthread.h>

typedef struct greet {
    crt_frame co;
    const char *from;
    pthread_t caller;
} greet;

static crt_poll greet_run(void *frame, crt_cx *cx)
{
    greet *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
    printf("hello from a task that was spawned %s; it runs on %s\n", self->from,
           pthread_equal(self->caller, pthread_self()) ? "the caller's thread" : "a worker");
    CRT_RETURN(42);
    CRT_END;
}

static intptr_t job(void *arg)
{
    return (intptr_t)arg * 2;   // here a job may block: it has a thread of its own
}

static void *plain_thread(void *arg)
{
    crt_handle *handle = arg;
    crt_join_handle *join;
    intptr_t result = 0;

    int e = crt_handle_spawn_join(handle, &join, greet_run,
                                  &(greet){.from = "by a plain thread", .caller = pthread_self()});
    if (e == 0) e = crt_join_blocking(&join, &result);
    printf("joined: %s, result %d\n", e == 0 ? "ok" : crt_err_name(e), (int)result);

    e = crt_handle_spawn_blocking(handle, &join, job, (void *)(intptr_t)21);
    if (e == 0) e = crt_join_blocking(&join, &result);
    printf("blocking job: %s, result %d\n", e == 0 ? "ok" : crt_err_name(e), (int)result);

    // Or simply wait for a coroutine to end; the frame stays on this stack.
    greet frame = {.from = "by block_on", .caller = pthread_self()};
    printf("block_on: %d\n", (int)crt_handle_block_on(handle, greet_run, &frame));

    printf("current handle here: %s\n", crt_handle_current() ? "yes" : "none, as it should be");
    return NULL;
}

int main(void)
{
    crt_config config = {.worker_threads = 2};
    crt_runtime *rt;
    int e = crt_runtime_new(&config, &rt);
    if (e < 0) {
        fprintf(stderr, "runtime: %s\n", crt_strerror(e));
        return 1;
    }
    crt_handle *handle = crt_runtime_handle(rt);
    pthread_t thread;
    if (pthread_create(&thread, NULL, plain_thread, handle) == 0) pthread_join(thread, NULL);
    crt_runtime_drop(&rt);

    // The handle outlives the runtime; it only says no.
    e = crt_handle_spawn(handle, greet_run, &(greet){.from = "too late"});
    printf("after the shutdown: %s (%s)\n", crt_err_name(e), crt_strerror(e));
    crt_handle_drop(&handle);
    return 0;
}
