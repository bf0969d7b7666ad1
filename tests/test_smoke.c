// The walking skeleton: one task, a child, a join, a select, a time-out, on three runtimes.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

static int cleaned;   // atomic

typedef struct nap {
    crt_frame co;
    int ms;
} nap;
static crt_poll nap_run(void *frame, crt_cx *cx)
{
    nap *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(self->ms)));
    CRT_RETURN(self->ms);
    CRT_FINALLY
        __atomic_fetch_add(&cleaned, 1, __ATOMIC_SEQ_CST);
    CRT_END;
}

typedef struct root {
    crt_frame co;
    nap a, b;
    int i;
    crt_join_handle *join[50];
    intptr_t result;
    long sum;
    crt_poll r;
    CRT_SELECT(2) sel;
    crt_timer timer;
} root;
static crt_poll root_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    self->a.ms = 2;
    CRT_AWAIT(self->r = nap_run(&self->a, cx));
    CHECK_EQ(self->r, 2);
    for (self->i = 0; self->i < 50; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], nap_run, &(nap){.ms = self->i % 10}), 0);
    for (self->i = 0; self->i < 50; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], &self->result));
        CHECK_EQ(self->r, 0);
        self->sum += self->result;
    }
    CHECK_EQ(self->sum, 225);
    CHECK_EQ(cleaned, 51);
    self->a.ms = 10000;
    self->b.ms = 3;
    CRT_AWAIT(self->r = crt_select(cx, &self->sel,
        crt_on(cx, 0, nap_run(&self->a, cx)),
        crt_on(cx, 1, nap_run(&self->b, cx))));
    CHECK_EQ(self->r, 1);
    CHECK_EQ(cleaned, 53);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(3), nap_run(&self->a, cx)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(cleaned, 54);
    CRT_YIELD();
    CRT_RETURN(7);
    CRT_END;
}
static void skeleton(crt_runtime *rt)
{
    root r = {0};
    cleaned = 0;
    CHECK_EQ(crt_block_on(rt, root_run, &r), 7);
}

// A break that leaves the body is a return of 0: it must not skip the cleanup.
typedef struct breaks {
    crt_frame co;
    bool early;
} breaks;
static crt_poll breaks_run(void *frame, crt_cx *cx)
{
    breaks *self = frame;
    CRT_BEGIN(self, cx);
    CRT_YIELD();
    if (self->early) break;
    CRT_RETURN(5);
    CRT_FINALLY
        cleaned++;
    CRT_END;
}
static void a_break_runs_the_cleanup(crt_runtime *rt)
{
    breaks b = {.early = true};
    cleaned = 0;
    CHECK_EQ(crt_block_on(rt, breaks_run, &b), 0);
    CHECK_EQ(cleaned, 1);
    CHECK_EQ(b.co.resume, 0);   // ready to run again
    b.early = false;
    CHECK_EQ(crt_block_on(rt, breaks_run, &b), 5);
    CHECK_EQ(cleaned, 2);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST_ON_EACH(skeleton);
    TEST_ON_EACH(a_break_runs_the_cleanup);
    return test_end();
}
