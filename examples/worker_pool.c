// worker_pool.c: 100 jobs, at most four at a time, on a semaphore.
//
// Tasks are cheap, so there is one for each job; the semaphore lets four of them work.
// The results come in the order in which the jobs end (crt_join_set). One job takes too
// long and is cut short by its timeout: its permit comes back all the same.

#define CRT_IMPLEMENTATION
#include "../crt.h"

enum { JOBS = 100, AT_ONCE = 4, STUCK = 42 };

static crt_semaphore permits;
static int working, most;   // atomic

typedef struct job {
    crt_frame co;
    int number;
    bool has_permit;
    crt_timer timer;
    crt_poll r;
} job;

static crt_poll job_run(void *frame, crt_cx *cx)
{
    job *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_semaphore_acquire(cx, &permits, 1));
    self->has_permit = true;
    {   // locals that no await separates
        int now = __atomic_add_fetch(&working, 1, __ATOMIC_RELAXED), seen = __atomic_load_n(&most, __ATOMIC_RELAXED);
        while (now > seen &&
               !__atomic_compare_exchange_n(&most, &seen, now, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) continue;
    }
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(50),
                                    crt_sleep(cx, self->number == STUCK ? CRT_SEC(3600) : CRT_MS(self->number % 7))));
    CRT_RETURN(self->r < 0 ? self->r : self->number);
    CRT_FINALLY
        if (self->has_permit) {
            __atomic_sub_fetch(&working, 1, __ATOMIC_RELAXED);
            crt_semaphore_release(&permits, 1);
        }
    CRT_END;
}

typedef struct pool {
    crt_frame co;
    crt_join_set jobs;
    int i, good, timed_out;
    intptr_t result;
    crt_poll r;
} pool;

static crt_poll pool_run(void *frame, crt_cx *cx)
{
    pool *self = frame;
    CRT_BEGIN(self, cx);
    crt_semaphore_init(&permits, AT_ONCE);
    for (self->i = 0; self->i < JOBS; self->i++) {
        self->r = crt_join_set_spawn(cx, &self->jobs, job_run, &(job){.number = self->i});
        if (self->r < 0) CRT_RETURN(self->r);
    }
    for (;;) {
        CRT_AWAIT(self->r = crt_join_set_next(cx, &self->jobs, &self->result));
        if (self->r == CRT_EEMPTY) break;
        if (self->r == 0 && self->result >= 0) self->good++;
        if (self->r == 0 && self->result == CRT_ETIMEDOUT) self->timed_out++;
    }
    printf("%d jobs done, %d timed out, at most %d at once, %d permits are back\n", self->good, self->timed_out, most,
           (int)crt_semaphore_available(&permits));
    CRT_RETURN(most > AT_ONCE);
    CRT_FINALLY
        crt_join_set_drop(&self->jobs);   // whoever leaves early takes the jobs along
    CRT_END;
}

CRT_MAIN(pool_run, pool)
