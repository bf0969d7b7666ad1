// model_streams.c - streams in memory: two ends that tell each other.
//
// Promise: an end that waits is told when there is something to read, when there is room,
// and when the other end has closed, although only the steps from empty and from full are
// told; the memory that both share goes with the last of them, once.
#include "model_platform.h"

static crt__sock table[64];
static crt_stream *near_, *far_;   // a task has the one, a thread the other
static int got, ended, refused;
static uint64_t others;   // bytes of what is not the streams

static void setup(size_t capacity)
{
    crt_cx cx;
    model_runtime(1);
    model_watch(table, sizeof table);
    memset(table, 0, sizeof table);
    rt.sock_table[0] = table;
    memset(&cx, 0, sizeof cx);
    cx.rt = &rt;
    got = ended = refused = 0;
    others = 0;
    EX_ASSERT(crt_duplex(&cx, capacity, &near_, &far_) == 0);
}
static void all_gone(void)
{
    crt_close(&near_);
    crt_close(&far_);
    EX_ASSERT(rt.bytes == others && !table[0].waiters && !table[1].waiters);
}

typedef struct mover {
    int left;
    size_t n;
    char buf[4];
} mover;
static crt_poll read_run(void *frame, crt_cx *cx)
{
    mover *self = frame;
    while (self->left > 0) {
        crt_poll n = crt_read(cx, near_, self->buf, self->n);
        if (n == CRT_PENDING) return n;
        EX_ASSERT(n >= 0);
        if (n == 0) {
            ended++;
            return 0;
        }
        got += (int)n;
        self->left -= (int)n;
    }
    return 0;
}
static crt_poll write_run(void *frame, crt_cx *cx)
{
    mover *self = frame;
    while (self->left > 0) {
        crt_poll n = crt_write(cx, near_, self->buf, crt__min(self->n, (size_t)self->left));
        if (n == CRT_PENDING) return n;
        if (n == -EPIPE) {
            refused++;
            return 0;
        }
        EX_ASSERT(n > 0);
        self->left -= (int)n;
    }
    return 0;
}
static void start(crt_fn fn, int left, size_t n)
{
    mover f = {.left = left, .n = n, .buf = "abc"};
    crt_task *t = model_task(fn, &f, sizeof f, false);
    others -= crt__chunk_bytes(t->home);   // it was not counted, and will be when it is freed
    crt__list_push(&workers[0].fifo, t);
}

// --- bytes

static void write_some(void *arg)
{
    for (intptr_t i = 0; i < (intptr_t)arg; i++) EX_ASSERT(crt_try_write(far_, "x", 1) == 1);
}
static void reads(size_t room)
{
    setup(2);
    start(read_run, 2, room);
    int a = ex_spawn(write_some, (void *)2);
    model_run_until(&workers[0], 1);
    ex_join(a);
    EX_ASSERT(got == 2);
    all_gone();
}
static void full_reads(void) { reads(1); }
static void short_reads(void) { reads(4); }

static void read_some(void *arg)
{
    char c;
    for (intptr_t i = 0; i < (intptr_t)arg; i++) EX_ASSERT(crt_try_read(far_, &c, 1) == 1);
}
// The lane is full to begin with, so that the thread always has something to read.
static void writes(size_t piece)
{
    setup(2);
    EX_ASSERT(crt_try_write(near_, "ab", 2) == 2);
    start(write_run, 2, piece);
    int a = ex_spawn(read_some, (void *)2);
    model_run_until(&workers[0], 1);
    ex_join(a);
    char left[4];
    EX_ASSERT(crt_try_read(far_, left, 4) == 2);
    all_gone();
}
static void full_writes(void) { writes(1); }
static void short_writes(void) { writes(2); }

// --- ends

static void close_far(void *arg)
{
    (void)arg;
    crt_close(&far_);
}
static void write_and_close(void *arg)
{
    (void)arg;
    EX_ASSERT(crt_try_write(far_, "x", 1) == 1);
    crt_close(&far_);
}
static void close_against_reader(void)
{
    setup(1);
    start(read_run, 5, 1);
    int a = ex_spawn(write_and_close, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a);
    EX_ASSERT(got == 1 && ended == 1);
    all_gone();
}
static void close_against_writer(void)
{
    setup(1);
    start(write_run, 3, 1);
    int a = ex_spawn(close_far, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a);
    EX_ASSERT(refused == 1);
    all_gone();
}
static void half_close(void *arg)
{
    (void)arg;
    EX_ASSERT(crt__duplex_shutdown((crt__sock *)far_, SHUT_WR) == 0);
}
static void half_close_against_reader(void)
{
    setup(1);
    start(read_run, 1, 1);
    int a = ex_spawn(half_close, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a);
    EX_ASSERT(ended == 1);
    all_gone();
}
static void both_just_close(void)
{
    setup(1);
    int a = ex_spawn(close_far, NULL);
    crt_close(&near_);
    ex_join(a);
    all_gone();
}

static void write_may_fail(void *arg)
{
    (void)arg;
    crt_poll k = crt_try_write(far_, "x", 1);
    EX_ASSERT(k == 1 || k == -EPIPE);
    crt_close(&far_);
}
static void write_against_close(void)
{
    setup(1);
    int a = ex_spawn(write_may_fail, NULL);
    crt_close(&near_);
    ex_join(a);
    all_gone();
}

// --- the end that a task waits on is closed by somebody else, while it goes on

typedef struct keeper {
    crt_stream *s;
    char buf[4];
} keeper;
static crt_poll keep_run(void *frame, crt_cx *cx)
{
    keeper *self = frame;
    crt_poll n = crt_read(cx, self->s, self->buf, 1);
    if (n == CRT_PENDING) return n;
    EX_ASSERT(n == 1 || n == CRT_ECLOSED);
    ended++;
    return 0;
}
static void write_and_close_both(void *arg)
{
    (void)arg;
    EX_ASSERT(crt_try_write(far_, "x", 1) == 1);
    crt_close(&near_);
    crt_close(&far_);
}
static void closed_under_a_read_that_goes_on(void)
{
    crt_cx cx;
    bool from_lifo;
    setup(1);
    keeper f = {.s = near_};
    crt_task *t = model_task(keep_run, &f, sizeof f, false);
    others -= crt__chunk_bytes(t->home);
    crt__list_push(&workers[0].fifo, t);
    model_enter(&workers[0], &cx);
    crt__run_task(&workers[0], &cx, crt__next_task(&workers[0], &from_lifo));
    EX_ASSERT(table[0].waiters);   // closing under a read that has not begun is the caller's mistake
    int a = ex_spawn(write_and_close_both, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a);
    EX_ASSERT(ended == 1 && !table[0].refs && !table[1].refs);
    all_gone();
}

static const model models[] = {
    {.name = "bytes against reads that take what there is", .run = full_reads, .spurious_cas = 1},
    {.name = "bytes against short reads", .run = short_reads, .spurious_cas = 1},
    {.name = "room against writes of one byte", .run = full_writes},
    {.name = "room against short writes", .run = short_writes},
    {.name = "a last byte and a close against a reader", .run = close_against_reader},
    {.name = "a close against a writer", .run = close_against_writer},
    {.name = "a half-close against a reader", .run = half_close_against_reader},
    {.name = "both ends close", .run = both_just_close},
    {.name = "a write against a close", .run = write_against_close},
    {.name = "both ends close under a read that goes on", .run = closed_under_a_read_that_goes_on},

    {.name = "seed: clearing ignores newer events", .run = short_reads,
     .seed = {"crt__ready_clear", "cas &s->ready", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: waiting does not look again", .run = full_reads,
     .seed = {"crt__io_park", "load &s->ready", MODEL_VALUE, 0, NULL, 0}},
    {.name = "seed: room that comes meanwhile is cleared", .run = short_writes,
     .seed = {"crt__ready_clear", "cas &s->ready", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: one end forgets the other's lock", .run = both_just_close,
     .seed = {"crt__lock", "cas lock", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: a read that goes on has no handle of its own", .run = closed_under_a_read_that_goes_on,
     .seed = {"crt__sock_ref_live", "cas &s->refs", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: that handle is counted in two steps", .run = closed_under_a_read_that_goes_on,
     .seed = {"crt__sock_ref_live", "cas &s->refs", MODEL_SPLIT, 0, NULL, 0}},
};
MODEL_MAIN(models)
