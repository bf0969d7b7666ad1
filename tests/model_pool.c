// model_pool.c - the blocking pool: who is idle, who starts, who gives up, who gets the job.
//
// Promise: a job runs exactly once, or is cancelled before it has begun; it never waits
// while a thread is idle or may be started; threads end when their keep-alive has passed or
// the pool stops, and shutdown waits for all of them.
// The pool's threads are those that crt__pool_start starts, with all that they do. Each may
// find at any moment that its keep-alive is over.
#include "model_platform.h"

enum { JOBS = 3 };
static uint32_t ran[JOBS];   // atomic
static int data[JOBS];       // plain: from the job to the joiner
static crt_join_handle *job[JOBS];

static uint32_t model_spin;
static void setup(int32_t most)
{
    model_runtime(1);
    rt.pool.spin = rt.pool.spin_most = model_spin;
    rt.config.max_blocking_threads = most;
    rt.config.thread_keep_alive = CRT_SEC(10);
    memset(ran, 0, sizeof ran);
    memset(data, 0, sizeof data);
    memset(job, 0, sizeof job);
}
static intptr_t work(void *arg)
{
    intptr_t i = (intptr_t)arg;
    EX_ASSERT(crt__atomic_add(&ran[i], 1, RELAXED) == 0);
    EX_ASSERT(crt__atomic_load(&rt.pool.threads, RELAXED) <= (uint32_t)rt.config.max_blocking_threads);
    EX_WRITE(data[i]) = 1;
    return i;
}
static void spawn(intptr_t i) { EX_ASSERT(crt__pool_spawn(&rt, NULL, &job[i], work, (void *)i) == 0); }
static void join(intptr_t i)
{
    intptr_t result = -1;
    EX_ASSERT(crt_join_blocking(&job[i], &result) == 0 && result == i);
    EX_ASSERT(EX_READ(data[i]) == 1);
}
static void spawn_and_join(void *arg)
{
    spawn((intptr_t)arg);
    join((intptr_t)arg);
}
// Everybody has gone, and the memory is whole: each task is free, once.
static void finish(void)
{
    uint32_t n;
    while ((n = crt__atomic_load(&rt.pool.alive, ACQUIRE)) != 0) crt__futex_wait(&rt.pool.alive, n, -1);
    EX_ASSERT(rt.pool.outstanding == 0 && rt.pool.idle == 0 && rt.pool.tokens == 0);
    EX_ASSERT(rt.pool.threads == 0 && rt.pool.coming == 0);
    EX_ASSERT(crt__inject_length(&rt.pool.queue) == 0);
    for (crt__chunk *c = rt.chunks, *next; c; c = next) {
        for (uint32_t i = 0; i < c->carved; i++) EX_ASSERT(crt__chunk_task(c, i)->state == 0);
        next = c->next;
        ex_free(c);
    }
}
static void one_job(void)
{
    setup(2);
    spawn_and_join((void *)0);
    finish();
}
static void two_jobs(void)
{
    setup(2);
    spawn(0);
    spawn(1);
    join(0);
    join(1);
    finish();
}
// The first job is done, its thread idle or on its way out, when the second comes.
static void idle_against_push(int32_t most)
{
    setup(most);
    spawn_and_join((void *)0);
    spawn_and_join((void *)1);
    finish();
}
static void idle_against_push_of_one(void) { idle_against_push(1); }
static void idle_against_push_of_two(void) { idle_against_push(2); }
static void two_pushers(void)
{
    setup(2);
    int a = ex_spawn(spawn_and_join, (void *)1);
    spawn_and_join((void *)0);
    ex_join(a);
    finish();
}
static void two_pushers_one_thread(void)
{
    setup(1);
    int a = ex_spawn(spawn_and_join, (void *)1);
    spawn_and_join((void *)0);
    ex_join(a);
    finish();
}
// A job that blocks until another one has run: the second thread must come.
static intptr_t work_after_1(void *arg)
{
    while (!crt__atomic_load(&ran[1], ACQUIRE)) crt__cpu_relax();
    return work(arg);
}
static void jobs_that_block(void)
{
    setup(2);
    EX_ASSERT(crt__pool_spawn(&rt, NULL, &job[0], work_after_1, (void *)0) == 0);
    spawn(1);
    join(0);
    join(1);
    finish();
}

// The first waits for the second, which is told to nobody if a thread is on its way.
static void jobs_of_one_poll(void)
{
    setup(2);
    EX_ASSERT(crt__pool_spawn(&rt, &workers[0], &job[0], work_after_1, (void *)0) == 0);
    EX_ASSERT(crt__pool_spawn(&rt, &workers[0], &job[1], work, (void *)1) == 0);
    join(0);
    join(1);
    finish();
}
// The thread that the first job of a poll got may be gone, and no other to be had: the second is refused, run
// or cancelled.
static void one_poll_without_threads(void)
{
    setup(1);
    EX_ASSERT(crt__pool_spawn(&rt, &workers[0], &job[0], work, (void *)0) == 0);
    join(0);
    model_start_fails = true;
    int e = crt__pool_spawn(&rt, &workers[0], &job[1], work, (void *)1);
    EX_ASSERT(e == 0 || (e == -EAGAIN && !job[1]));
    intptr_t result = -1;
    if (e == 0) e = crt_join_blocking(&job[1], &result);
    else e = CRT_ECANCELED;
    EX_ASSERT(e == 0 ? ran[1] == 1 && result == 1 : e == CRT_ECANCELED && ran[1] == 0);
    model_start_fails = false;
    finish();
}
// Threads that spin before they sleep: a job that comes meanwhile is signalled by nobody.
static void spinning(void (*run)(void))
{
    model_spin = 2;
    run();
    model_spin = 0;
}
static void spin_against_push(void) { spinning(idle_against_push_of_two); }
static void spin_against_two_pushers(void) { spinning(two_pushers); }

// --- abort

static void abort_against_claim(void)
{
    setup(1);
    spawn(0);
    crt_abort(job[0]);
    intptr_t result = -1;
    int e = crt_join_blocking(&job[0], &result);
    EX_ASSERT(e == 0 ? ran[0] == 1 && result == 0 : e == CRT_ECANCELED && ran[0] == 0);
    finish();
}
static int cancelled;
static void cancel(void *arg)
{
    cancelled += crt__job_cancel(arg);
}
// The memory of one job by itself, so that a late access to it is seen.
static void claim_alone(void)
{
    setup(1);
    cancelled = 0;
    crt__job f = {work, (void *)0};
    crt_task *t = model_task(NULL, &f, sizeof f, true);
    crt__task_ref(t);   // the queue's
    rt.pool.outstanding = 1;
    job[0] = model_handle(t);
    int a = ex_spawn(cancel, t);
    crt__pool_run(&rt, t);
    ex_join(a);
    EX_ASSERT(cancelled + (int)ran[0] == 1 && rt.pool.outstanding == 0);
    crt_detach(&job[0]);
}

// --- the end of the pool

static void stop_pool(void *arg)
{
    (void)arg;
    EX_ASSERT(crt__shutdown_pool(&rt, INT64_MAX) == 0);
}
static void shutdown_against_jobs(void)
{
    setup(2);
    spawn(0);
    int a = ex_spawn(stop_pool, NULL);
    intptr_t result;
    int e = crt_join_blocking(&job[0], &result);
    EX_ASSERT(e == 0 ? ran[0] == 1 : e == CRT_ECANCELED && ran[0] == 0);
    ex_join(a);
    finish();
}
static void shutdown_against_idle(void)
{
    setup(2);
    spawn_and_join((void *)0);
    stop_pool(NULL);
    finish();
}
static void spin_against_shutdown(void) { spinning(shutdown_against_idle); }
// No thread can be started, not even the first: the caller is told, the job is not lost.
static void no_thread(void)
{
    setup(2);
    model_start_fails = true;
    int e = crt__pool_spawn(&rt, NULL, &job[0], work, (void *)0);
    EX_ASSERT(e == -EAGAIN && !job[0] && logged == 1);
    model_start_fails = false;
    spawn_and_join((void *)1);   // takes what is left of the first out of the queue
    EX_ASSERT(ran[0] == 0);
    finish();
}

// Whoever is told 0 gets an answer, even if the thread that was to come could not be started.
static void try_to_run(void *arg)
{
    intptr_t i = (intptr_t)arg, result = -1;
    int e = crt__pool_spawn(&rt, NULL, &job[i], work, arg);
    if (e) {
        EX_ASSERT(e == -EAGAIN && !job[i]);
        return;
    }
    e = crt_join_blocking(&job[i], &result);
    EX_ASSERT(e == 0 ? ran[i] == 1 && result == i : e == CRT_ECANCELED && ran[i] == 0);
}
static void start_may_fail(void)
{
    setup(2);
    model_start_may_fail = true;
    int a = ex_spawn(try_to_run, (void *)1);
    try_to_run((void *)0);
    ex_join(a);
    model_start_may_fail = false;
    spawn_and_join((void *)2);   // takes what is left in the queue
    finish();
}

// --- crt_block_in_place: a pool thread carries the worker on, unless f returns first

static uint32_t going;     // atomic: tasks that have not ended
static bool f_waits;
static intptr_t in_place(void *arg)
{
    (void)arg;
    while (f_waits && !crt__atomic_load(&ran[1], ACQUIRE)) crt__cpu_relax();
    return 3;
}
static crt_poll in_place_run(void *frame, crt_cx *cx)
{
    (void)frame;
    EX_ASSERT(crt_block_in_place(cx, in_place, NULL) == 3);
    crt__atomic_store(&ran[0], 1, RELEASE);
    if (crt__atomic_sub(&going, 1, ACQ_REL) == 1) crt__stop_workers(&rt);
    return 0;
}
static crt_poll beside_run(void *frame, crt_cx *cx)
{
    (void)frame, (void)cx;
    EX_ASSERT(crt__atomic_xchg(&ran[1], 1, ACQ_REL) == 0);
    if (crt__atomic_sub(&going, 1, ACQ_REL) == 1) crt__stop_workers(&rt);
    return 0;
}
// Both tasks belong to worker 0; nobody steals from it.
static void block_in_place(bool waits)
{
    model_runtime(2);
    rt.config.max_blocking_threads = 1;
    rt.config.thread_keep_alive = CRT_SEC(10);
    rt.threads_alive = 3;   // this is not the end of the runtime
    memset(ran, 0, sizeof ran);
    f_waits = waits;
    going = 2;
    crt__ring_push(&rings[0], &rt.inject, model_task(in_place_run, NULL, 0, false));
    crt__ring_push(&rings[0], &rt.inject, model_task(beside_run, NULL, 0, false));
    crt__worker_loop(&workers[0]);
    while (crt__atomic_load(&going, ACQUIRE)) crt__cpu_relax();
    EX_ASSERT(ran[0] == 1 && ran[1] == 1);
    finish();
}
static void in_place_waits_for_its_worker(void) { block_in_place(true); }
static void in_place_returns_at_once(void) { block_in_place(false); }

static const model models[] = {
    {.name = "one job", .run = one_job},
    {.name = "two jobs", .run = two_jobs},
    {.name = "time-out against push, one thread allowed", .run = idle_against_push_of_one},
    {.name = "time-out against push, two threads allowed", .run = idle_against_push_of_two},
    {.name = "two pushers, two threads", .run = two_pushers},
    {.name = "two pushers, one thread", .run = two_pushers_one_thread},
    {.name = "a job waits for one behind it", .run = jobs_that_block},
    {.name = "two jobs of one poll, the first waits for the second", .run = jobs_of_one_poll},
    {.name = "two jobs of one poll, no thread for the second", .run = one_poll_without_threads},
    {.name = "a thread that spins against a push", .run = spin_against_push},
    {.name = "threads that spin, two pushers", .run = spin_against_two_pushers},
    {.name = "shutdown against a thread that spins", .run = spin_against_shutdown},
    {.name = "abort of a job that may have begun", .run = abort_against_claim},
    {.name = "claim against cancel, to the last reference", .run = claim_alone, .spurious_cas = 1},
    {.name = "shutdown against a job", .run = shutdown_against_jobs},
    {.name = "shutdown against an idle thread", .run = shutdown_against_idle},
    {.name = "no thread can be started", .run = no_thread},

    {.name = "a start fails while another job relies on it", .run = start_may_fail},
    {.name = "block_in_place waits for a task of its own worker", .run = in_place_waits_for_its_worker},
    {.name = "block_in_place returns while the pool comes", .run = in_place_returns_at_once},

    {.name = "seed: the thread that ends does not look again", .run = idle_against_push_of_one,
     .seed = {"crt__pool_stays", "sub &p->threads", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: idle threads are not signalled", .run = idle_against_push_of_one, .timeouts = -1,
     .seed = {"crt__pool_wake", "add &p->tokens", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: idle is counted down without a cas", .run = two_pushers,
     .seed = {"crt__pool_wake", "cas &p->idle", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: an idle thread does not count itself", .run = idle_against_push_of_one,
     .seed = {"crt__pool_work", "add &p->idle", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: who has arrived does not say so", .run = two_jobs, .timeouts = -1,
     .seed = {"crt__pool_arrived", "store &p->coming", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: who stops spinning does not look again", .run = spin_against_push, .timeouts = -1,
     .seed = {"crt__inject_length", "length", MODEL_VALUE, 0, NULL, 0}},
    {.name = "seed: a job is claimed without a cas", .run = claim_alone,
     .seed = {"crt__job_claim", "cas &t->state", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: a thread enters without a cas", .run = idle_against_push_of_one,
     .seed = {"crt__pool_enter", "cas &rt->pool.threads", MODEL_SPLIT, 0, NULL, 0}},
};
MODEL_MAIN(models)
