// What reviews found, each in the smallest scene that shows it. Where it took two threads
// at an unlucky moment, the moment is made: see hooked_platform.h, and calls by hand.
#define CRT_PLATFORM_HEADER "hooked_platform.h"
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

#define COUNTED .allocator = TEST_COUNTED, .log = {.func = test_log}
static crt_runtime *runtime(int workers)   // 0: current thread
{
    crt_runtime *rt;
    crt_config c = {.flavor = workers ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD, .worker_threads = workers, COUNTED};
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    return rt;
}

// ---- a transfer that is parked and then polled with NULL -----------------------------

typedef struct root {
    crt_frame co;
    crt_stream *a, *b;
    crt_udp *u;
    crt_listener *l;
    crt_poll r;
    char buf[8];
} root;
static crt_poll null_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    CHECK_EQ(crt_read(cx, self->a, self->buf, 8), CRT_PENDING);
    CHECK(((crt__sock *)self->a)->waiters != NULL);
    CHECK_EQ(crt_read(cx, self->a, NULL, 8), CRT_EINVAL);
    CHECK(((crt__sock *)self->a)->waiters == NULL && cx->slot->op == NULL);
    CRT_AWAIT(self->r = crt_udp_bind(cx, "127.0.0.1:0", &self->u));
    CHECK_EQ(crt_udp_recv(cx, self->u, self->buf, 8), CRT_PENDING);
    CHECK_EQ(crt_udp_recv(cx, self->u, NULL, 8), CRT_EINVAL);
    CHECK(((crt__sock *)self->u)->waiters == NULL && cx->slot->op == NULL);
    CRT_FINALLY
        crt_close(&self->a);
        crt_close(&self->b);
        crt_close(&self->u);
    CRT_END;
}
static void a_parked_transfer_given_null_is_unlinked(void)
{
    crt_runtime *rt = runtime(0);
    root r = {.r = 0};
    CHECK_EQ(crt_block_on(rt, null_run, &r), 0);
    crt_runtime_drop(&rt);
    test_all_freed();
}

// ---- readiness that is spent belongs to one owner of a record -------------------------

static crt_poll spent_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    {
        crt__sock *s = (crt__sock *)self->a;
        uint64_t before = crt__atomic_load(&s->ready, CRT__ACQUIRE);
        crt__ready_reset(s);   // closed, and given to another socket, while somebody was inside a read
        crt__ready_set(s, CRT__READABLE | CRT__WRITABLE);
        crt__ready_spend(s, before);
        CHECK(crt__ready_now(s) & CRT__READABLE);
        crt__ready_spend(s, crt__atomic_load(&s->ready, CRT__ACQUIRE));
#ifndef CRT__URGENT_UNTOLD   // else none is ever spent
        CHECK(!(crt__ready_now(s) & CRT__READABLE));
#endif
    }
    CRT_FINALLY
        crt_close(&self->a);
        crt_close(&self->b);
    CRT_END;
}
static void spent_readiness_knows_its_generation(void)
{
    crt_runtime *rt = runtime(0);
    root r = {.r = 0};
    CHECK_EQ(crt_block_on(rt, spent_run, &r), 0);
    crt_runtime_drop(&rt);
    test_all_freed();
}

// ---- pinned tasks that are woken while their runtime ends -----------------------------

static crt_task *victim;   // atomic
static crt_join_handle *victim_join;
static crt_notify never;
typedef struct keeper {
    crt_frame co;
    crt_local_set set;
} keeper;
static crt_poll victim_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    crt__task_ref(cx->task);
    __atomic_store_n(&victim, cx->task, __ATOMIC_SEQ_CST);
    CRT_AWAIT(crt_notified(cx, &never));
    CRT_FINALLY
        CRT_AWAIT(crt_notified(cx, &never));
    CRT_END;
}
static crt_poll keeper_run(void *frame, crt_cx *cx)
{
    keeper *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_local_set_spawn_join(cx, &self->set, &victim_join, victim_run, &(root){.r = 0}), 0);
    CRT_AWAIT(crt_local_set_join(cx, &self->set));
    CRT_FINALLY
        CRT_AWAIT(crt_local_set_join(cx, &self->set));
    CRT_END;
}
static bool parked(crt_task *t) { return t && crt__sits_idle(crt__atomic_load(&t->state, CRT__ACQUIRE)); }
static crt_task *parked_victim(void)
{
    crt_task *t;
    while (!parked(t = __atomic_load_n(&victim, __ATOMIC_SEQ_CST))) test_pause_us(100);
    return t;
}
static void a_pinned_task_is_woken_during_a_forced_end(void)
{
    crt_runtime *rt = runtime(1);
    crt_handle *h = crt_runtime_handle(rt);
    crt_join_handle *join;
    victim = NULL;
    memset(&never, 0, sizeof never);
    CHECK_EQ(crt_handle_spawn_join(h, &join, keeper_run, &(keeper){.co = {0}}), 0);
    crt_task *t = parked_victim();
    CHECK(t->flags & CRT__TASK_PINNED);
    // The shutdown begins, cancels it, and it waits in its cleanup. Then somebody wakes it, has
    // marked it, and is held up before he queues it until the deadline has passed.
    crt__begin_shutdown(rt);
    while (!(crt__atomic_load(&t->state, CRT__ACQUIRE) & CRT__UNWOUND)) test_pause_us(100);
    parked_victim();
    bool ours = crt__task_notify(t);
    CHECK(ours);
    CHECK(crt_runtime_shutdown(rt, CRT_MS(5)) >= 1);
    while (!crt__atomic_load(&rt->ended, CRT__SEQ_CST)) test_pause_us(100);
    while (crt__atomic_load(&rt->unfinished, CRT__SEQ_CST)) test_pause_us(100);
    CHECK(!crt_is_finished(victim_join));
    if (ours) crt__submit(t);
    CHECK(crt_is_finished(victim_join));
    crt__task_unref(t, 1);
    if (crt_is_finished(victim_join)) CHECK_EQ(crt_join_blocking(&victim_join, NULL), CRT_ECANCELED);
    CHECK_EQ(crt_join_blocking(&join, NULL), CRT_ECANCELED);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
    test_all_freed();
}

// ---- a dump that holds a parked task while its runtime ends ----------------------------

static crt_task *dumped;
static int swaps;
// The second swap of the state word is the one by which the dump takes the task back: just
// then somebody lets go of a reference, which the word counts.
static void meddle(void *word)
{
    if (dumped && word == (void *)&dumped->state && ++swaps == 2) crt__task_unref(dumped, 1);
}
static void a_dump_ends_what_the_end_passed_by(void)
{
    crt_runtime *rt = runtime(0);
    crt_handle *h = crt_runtime_handle(rt);
    crt_join_handle *join;
    char text[400];
    victim = NULL;
    memset(&never, 0, sizeof never);
    CHECK_EQ(crt_handle_spawn_join(h, &join, victim_run, &(root){.r = 0}), 0);
    CHECK_EQ(crt_runtime_turn(rt, 0), 1);
    dumped = parked_victim();
    swaps = 0;
    hook_cas = meddle;
    crt__atomic_store(&rt->ended, 1, CRT__SEQ_CST);   // as if it came while the dump held the task
    crt__dump_parked(rt, dumped, crt__atomic_load(&dumped->state, CRT__ACQUIRE), text, sizeof text);
    hook_cas = NULL;
    dumped = NULL;
    CHECK(swaps >= 2);
    CHECK(strstr(text, "waits for") != NULL);
    CHECK(crt_is_finished(join));
    CHECK_EQ(crt_runtime_shutdown(rt, CRT_MS(10)), 0);
    CHECK_EQ(crt_join_blocking(&join, NULL), CRT_ECANCELED);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
    test_all_freed();
}

// ---- 65,536 events between a look and a clear -------------------------------------------

static crt_poll ticks_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    {
        crt__sock *s = (crt__sock *)self->a;
        uint64_t token = crt__sock_token(s), seen = crt__atomic_load(&s->ready, CRT__ACQUIRE);
        for (int i = 0; i < 65536; i++) CHECK(crt__sock_event(cx->rt, token, CRT__READABLE));
        crt__ready_clear(s, seen, CRT__READABLE);   // it was told EAGAIN before all of them
        CHECK(crt__ready_now(s) & CRT__READABLE);
        crt__ready_spend(s, seen);
        CHECK(crt__ready_now(s) & CRT__READABLE);
        CHECK_EQ(crt__sock_token(s), token);
    }
    CRT_FINALLY
        crt_close(&self->a);
        crt_close(&self->b);
    CRT_END;
}
static void ticks_that_go_round_erase_no_edge(void)
{
    crt_runtime *rt = runtime(0);
    root r = {.r = 0};
    CHECK_EQ(crt_block_on(rt, ticks_run, &r), 0);
    crt_runtime_drop(&rt);
    test_all_freed();
}

// ---- waiters of one runtime on what belongs to another, which ends ----------------------

enum { READS, READABLE, ACCEPTS, RECEIVES, WRITES, WAITS };
static crt_stream *lent_a, *lent_b, *full;   // of runtime a
static crt_listener *lent_l;
static crt_udp *lent_u;
static int waiting;   // atomic
static crt_poll lend_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &lent_a, &lent_b), 0);
    full = crt_stream_clone(lent_b);
    // Where a pair is TCP (Windows), some of it goes on to the other side's buffer meanwhile.
    for (int i = 0; i < 5; i++) {
        static char lump[1 << 16];
        if (i) test_pause_us(1000);
        while (crt_try_write(full, lump, sizeof lump) > 0) {}
        while ((self->r = crt_try_write(full, "12345678", 8)) > 0) {}
    }
    CHECK_EQ(self->r, CRT_EAGAIN);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &lent_l));
    CRT_AWAIT(self->r = crt_udp_bind(cx, "127.0.0.1:0", &lent_u));
    CRT_END;
}
typedef struct borrower {
    crt_frame co;
    crt_stream *s;
    int how;
    unsigned starved;   // bit n: no budget at poll n
    crt_poll r;
    char buf[8];
} borrower;
static crt_poll borrow(borrower *self, crt_cx *cx)
{
    switch (self->how) {
    case READS: return crt_read(cx, lent_b, self->buf, 8);
    case READABLE: return crt_readable(cx, lent_b);
    case ACCEPTS: return crt_accept(cx, lent_l, &self->s, NULL);
    case RECEIVES: return crt_udp_recv(cx, lent_u, self->buf, 8);
    default: return crt_write_all(cx, full, "12345678", 8);
    }
}
static crt_poll borrower_run(void *frame, crt_cx *cx)
{
    borrower *self = frame;
    CRT_BEGIN(self, cx);
    __atomic_fetch_add(&waiting, 1, __ATOMIC_SEQ_CST);
    CRT_AWAIT(self->r = borrow(self, cx));
    CHECK_EQ(self->r, CRT_ESHUTDOWN);
    CRT_AWAIT(self->r = borrow(self, cx));   // and begun after its end
    CHECK_EQ(self->r, CRT_ESHUTDOWN);
    CRT_RETURN(17);
    CRT_END;
}
static void who_waits_on_another_runtimes_socket_hears_of_its_end(void)
{
    for (int k = 0; k < 4; k++) {
        crt_runtime *a = runtime(k & 1 ? 2 : 0), *b = runtime(2);
        crt_handle *h = crt_runtime_handle(b);
        crt_join_handle *join[WAITS];
        intptr_t result;
        root r = {.r = 0};
        waiting = 0;
        CHECK_EQ(crt_block_on(a, lend_run, &r), 0);
        for (int i = 0; i < WAITS; i++) CHECK_EQ(crt_handle_spawn_join(h, &join[i], borrower_run, &(borrower){.how = i}), 0);
        while (__atomic_load_n(&waiting, __ATOMIC_SEQ_CST) < WAITS) test_pause_us(100);
        if (k & 2) test_pause_us(3000);   // all of them parked, or some on their way
        crt_runtime_drop(&a);
        for (int i = 0; i < WAITS; i++) {
            CHECK_EQ(crt_join_blocking(&join[i], &result), 0);
            CHECK_EQ(result, 17);
        }
        // The memory of a stays until its last stream is closed, by whomever.
        CHECK_EQ(crt_try_read(lent_a, r.buf, 8), CRT_ESHUTDOWN);
        crt_close(&lent_a);
        crt_close(&lent_b);
        crt_close(&full);
        crt_close(&lent_l);
        crt_close(&lent_u);
        crt_handle_drop(&h);
        crt_runtime_drop(&b);
        test_all_freed();
    }
}

// ---- what a task of another runtime waits on is closed, and its runtime freed ------------

enum { POLLED, ABORTED, ENDS_TOO, WAYS };
enum { CLOSED_FIRST, DROPPED_FIRST, HEARD_HALF, ORDERS };   // the last: woken by the end, and out of budget then
static crt_poll outlived(borrower *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = borrow(self, cx));
    CHECK_EQ(self->r, CRT_ECLOSED);
    CRT_RETURN(17);
    CRT_END;
}
static crt_poll outlived_run(void *frame, crt_cx *cx)
{
    borrower *self = frame;
    if (self->starved & 1) cx->budget = 0;
    self->starved >>= 1;
    return outlived(self, cx);
}
static void outlive(int workers, int order, int way)
{
    crt_runtime *a = runtime(workers), *b = runtime(0);   // b moves when it is told to
    crt_handle *h = crt_runtime_handle(b);
    crt_join_handle *join[2 * WAITS];
    intptr_t result;
    root r = {.r = 0};
    CHECK_EQ(crt_block_on(a, lend_run, &r), 0);
    for (int i = 0; i < 2 * WAITS; i++) {
        borrower each = {.how = i % WAITS, .starved = i / WAITS | (order == HEARD_HALF ? 2 : 0)};
        CHECK_EQ(crt_handle_spawn_join(h, &join[i], outlived_run, &each), 0);
    }
    CHECK_EQ(crt_runtime_turn(b, 0), 2 * WAITS);
    if (order != CLOSED_FIRST) crt_runtime_drop(&a);
    if (order == HEARD_HALF) CHECK_EQ(crt_runtime_turn(b, 0), 2 * WAITS);
    crt_close(&lent_a);
    crt_close(&lent_b);
    crt_close(&full);
    crt_close(&lent_l);
    crt_close(&lent_u);
    crt_runtime_drop(&a);
    for (int i = 0; way == ABORTED && i < 2 * WAITS; i++) crt_abort(join[i]);
    if (way == ENDS_TOO) crt_runtime_drop(&b);
    else for (int i = 0; i < 10; i++) CHECK(crt_runtime_turn(b, 0) >= 0);
    for (int i = 0; i < 2 * WAITS; i++) {
        CHECK(crt_is_finished(join[i]));
        CHECK_EQ(crt_join_blocking(&join[i], &result), way == POLLED ? 0 : CRT_ECANCELED);
        if (way == POLLED) CHECK_EQ(result, 17);
    }
    crt_handle_drop(&h);
    crt_runtime_drop(&b);
    test_all_freed();
}
static void closed_under_another_runtimes_waiters(void)
{
    for (int i = 0; i < 2 * ORDERS * WAYS; i++) outlive(i % 2 * 2, i / 2 % ORDERS, i / 2 / ORDERS);
}

// ---- the same, closed while that task is inside its call ----------------------------------

static bool doomed;
// The swap by which the read takes readiness back that was none: it is between its wait and the next.
static void close_inside(void *word)
{
    if (!doomed || word != (void *)&((crt__sock *)lent_b)->ready) return;
    doomed = false;
    crt_close(&lent_a);
    crt_close(&lent_b);
    crt_close(&full);
    crt_close(&lent_l);
    crt_close(&lent_u);
}
static crt_poll inside_run(void *frame, crt_cx *cx)
{
    borrower *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_read(cx, self->s, self->buf, 8));
    CRT_RETURN(self->r);
    CRT_END;
}
static void closed_inside_another_runtimes_read(void)
{
    crt_runtime *a = runtime(0), *b = runtime(0);
    crt_handle *h = crt_runtime_handle(b);
    crt_join_handle *join;
    intptr_t result = 0;
    root r = {.r = 0};
    CHECK_EQ(crt_block_on(a, lend_run, &r), 0);
    CHECK_EQ(crt_handle_spawn_join(h, &join, inside_run, &(borrower){.s = lent_b}), 0);
    CHECK_EQ(crt_runtime_turn(b, 0), 1);
    crt_runtime_drop(&a);   // which wakes it; but it was readable, it seemed, before
    ((crt__sock *)lent_b)->ready &= ~(uint64_t)CRT__IO_SHUTDOWN;
    crt__ready_set((crt__sock *)lent_b, CRT__READABLE);
    doomed = true;
    hook_cas = close_inside;
    for (int i = 0; i < 10; i++) CHECK(crt_runtime_turn(b, 0) >= 0);
    hook_cas = NULL;
    CHECK(!doomed);
    CHECK_EQ(crt_join_blocking(&join, &result), 0);
    CHECK_EQ(result, CRT_ECLOSED);
    crt_handle_drop(&h);
    crt_runtime_drop(&b);
    test_all_freed();
}

// ---- a stream without a descriptor is closed while a read that goes on is inside it ---------

static const crt__soft_ops *true_ops;
static crt_poll closing_recv(crt__sock *s, void *buf, size_t n, bool peek)
{
    crt_close(&lent_a);
    crt_close(&lent_b);
    return (true_ops->recv)(s, buf, n, peek);   // a macro, on Windows
}
// By hand, what the thread of a standard stream does: one that is there, and has this many bytes. 0: not any more.
static void be_stdio_thread(int fd, size_t count)
{
#ifndef _WIN32
    crt__stdio *io = &crt__stdios[fd];
    if (!io->running) CHECK_EQ(crt__stdio_wake_new(&io->wake, fd), 0);
    io->running = true;
    io->pid = crt__process_number();
    io->head = 0;
    io->count = count;
    memset(io->data, 'x', sizeof io->data);
#endif
    (void)fd, (void)count;
}
static void no_stdio_thread(int fd)
{
#ifndef _WIN32
    crt__stdio *io = &crt__stdios[fd];
    crt__stdio_wake_free(&io->wake);
    io->running = false;
    io->wanted = io->count = 0;
#endif
    (void)fd;
}
static crt_poll soft_run(void *frame, crt_cx *cx)
{
    bool standard = *(int *)frame;
    if (standard) return crt_stdin(cx, &lent_a);
    return crt_duplex(cx, 8, &lent_a, &lent_b);
}
static void closed_inside_a_read_without_a_descriptor(void)
{
#ifdef _WIN32
    enum { KINDS = 1 };
#else
    enum { KINDS = 2 };
#endif
    for (int standard = 0; standard < KINDS; standard++) {
        crt_runtime *a = runtime(0), *b = runtime(0);
        crt_handle *h = crt_runtime_handle(b);
        crt_join_handle *join;
        intptr_t result = 0;
        if (standard) be_stdio_thread(0, 0);
        CHECK_EQ(crt_block_on(a, soft_run, &standard), 0);
        crt__sock *s = (crt__sock *)lent_a;
        CHECK_EQ(crt_handle_spawn_join(h, &join, inside_run, &(borrower){.s = lent_a}), 0);
        CHECK_EQ(crt_runtime_turn(b, 0), 1);
        true_ops = s->u.soft->ops;
        crt__soft_ops closing = *true_ops;
        closing.recv = closing_recv;
        s->u.soft->ops = &closing;
        if (standard) {
            be_stdio_thread(0, 1);
            CHECK(crt__sock_event(a, crt__sock_token(s), CRT__READABLE));
        } else {
            CHECK_EQ(crt_try_write(lent_b, "x", 1), 1);
        }
        crt_runtime_drop(&a);
        CHECK(crt_runtime_turn(b, 0) >= 1);
        CHECK(!lent_a && !lent_b);
        CHECK_EQ(crt_join_blocking(&join, &result), 0);
        CHECK_EQ(result, 1);   // what was there
        if (standard) no_stdio_thread(0);
        crt_handle_drop(&h);
        crt_runtime_drop(&b);
        test_all_freed();
    }
}
#ifndef _WIN32
// ---- another runtime's standard output is closed inside a flush ------------------------------

static crt_runtime *lender_rt;
static int inside;   // how far it has come
static void close_inside_flush(void *word)
{
    crt__sock *s = (crt__sock *)lent_a;
    if (inside == 0 && word == (void *)&s->ready) {   // it takes readiness back; something comes
        inside = 1;
        CHECK(crt__sock_event(lender_rt, crt__sock_token(s), CRT__READABLE));
    } else if (inside == 1 && word == (void *)&lender_rt->refs) {   // it gives its reference back, and goes on
        inside = 2;
        crt_close(&lent_a);
    }
}
static crt_poll flush_run(void *frame, crt_cx *cx)
{
    borrower *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_flush(cx, self->s));
    CRT_RETURN(self->r);
    CRT_END;
}
static crt_poll stdout_run(void *frame, crt_cx *cx) { return (void)frame, crt_stdout(cx, &lent_a); }
static void closed_inside_another_runtimes_flush(void)
{
    for (int after = 0; after < 2; after++) {   // closed inside, or after the poll, in which the flush went on to wait
        crt_runtime *a = runtime(0), *b = runtime(0);
        crt_handle *h = crt_runtime_handle(b);
        crt_join_handle *join;
        intptr_t result = 0;
        be_stdio_thread(1, 1);
        CHECK_EQ(crt_block_on(a, stdout_run, NULL), 0);
        crt__sock *s = (crt__sock *)lent_a;
        CHECK_EQ(crt_handle_spawn_join(h, &join, flush_run, &(borrower){.s = lent_a}), 0);
        CHECK_EQ(crt_runtime_turn(b, 0), 1);
        CHECK(crt__joined(join)->u.slot.op == &crt__op_flush);
        lender_rt = a;
        crt_runtime_drop(&a);   // which wakes it
        s->ready &= ~(uint64_t)CRT__IO_SHUTDOWN;
        inside = 2 * after;
        hook_cas = close_inside_flush;
        CHECK_EQ(crt_runtime_turn(b, 0), 1);
        hook_cas = NULL;
        crt_close(&lent_a);   // unless it was
        CHECK(crt_runtime_turn(b, 0) >= 0);
        CHECK_EQ(crt_join_blocking(&join, &result), 0);
        CHECK_EQ(result, CRT_ECLOSED);
        no_stdio_thread(1);
        crt_handle_drop(&h);
        crt_runtime_drop(&b);
        test_all_freed();
    }
}
#endif

// ---- a connection is taken just while its runtime ends -------------------------------------

static crt_poll hears_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 8));
    CRT_RETURN(self->r);
    CRT_FINALLY
        crt_close(&self->a);
    CRT_END;
}
static void accepted_while_the_runtime_ends(void)
{
    crt_runtime *a = runtime(0), *b = runtime(0);
    root r = {.r = 0};
    crt_addr to;
    size_t n;
    CHECK_EQ(crt_block_on(a, lend_run, &r), 0);
    CHECK_EQ(crt_local_addr(lent_l, &to), 0);
    int fd = test_socket(AF_INET, SOCK_STREAM);
    const struct sockaddr *name = crt_addr_sockaddr(&to, &n);
    CHECK(!connect(fd, name, (socklen_t)n) || errno == EINPROGRESS);
    crt_runtime_drop(&a);
    ((crt__sock *)lent_l)->ready &= ~(uint64_t)CRT__IO_SHUTDOWN;   // as it was when the other thread looked
    for (int i = 0; (r.r = crt_try_accept(lent_l, &r.a, NULL)) == CRT_EAGAIN && i < 1000; i++) test_pause_us(1000);
    CHECK_EQ(r.r, 0);
    CHECK_EQ(crt_block_on(b, hears_run, &r), CRT_ESHUTDOWN);   // it would wait for ever
    close(fd);
    crt_close(&lent_a);
    crt_close(&lent_b);
    crt_close(&full);
    crt_close(&lent_l);
    crt_close(&lent_u);
    crt_runtime_drop(&b);
    test_all_freed();
}

// ---- the job that carries a worker is none that a shutdown counts -----------------------

static int inside, leave;   // atomic
static crt_runtime *ending;
static intptr_t blocks(void *arg)
{
    (void)arg;
    __atomic_store_n(&inside, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&leave, __ATOMIC_SEQ_CST)) test_pause_us(100);
    return 0;
}
static crt_poll blocking_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    crt_block_in_place(cx, blocks, NULL);
    CRT_END;
}
// The worker's loop has ended, and its thread is put aside before the job that it was has.
static void put_aside(void *word)
{
    if (word == (void *)&ending->unfinished) test_pause_us(50000);
}
static void a_worker_that_a_job_carries_is_counted_once(void)
{
    ending = runtime(1);
    crt_runtime *rt = ending;
    crt_handle *h = crt_runtime_handle(rt);
    crt_join_handle *join;
    inside = leave = 0;
    CHECK_EQ(crt_handle_spawn_join(h, &join, blocking_run, &(root){.r = 0}), 0);
    while (!__atomic_load_n(&inside, __ATOMIC_SEQ_CST)) test_pause_us(100);
    hook_woken = put_aside;
    CHECK_EQ(crt_runtime_shutdown(rt, CRT_MS(20)), 1);   // the task inside
    __atomic_store_n(&leave, 1, __ATOMIC_SEQ_CST);
    CHECK_EQ(crt_join_blocking(&join, NULL), 0);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
    test_all_freed();
    hook_woken = NULL;
}

// ---- a buffered reader that begins with one byte ---------------------------------------

typedef struct lines {
    crt_frame co;
    crt_stream *a, *b;
    crt_reader in;
    crt_poll r;
    char *line, buf[2];
} lines;
static crt_poll lines_run(void *frame, crt_cx *cx)
{
    lines *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 64, &self->a, &self->b), 0);
    CHECK_EQ(crt_try_write(self->a, "hello\nx", 7), 7);
    crt_reader_init(&self->in, self->b, NULL, 1);   // one of its own grows from there
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 100, &self->line));
    CHECK(self->r == 5 && !strcmp(self->line, "hello"));
    CRT_AWAIT(self->r = crt_reader_fill(cx, &self->in, 1));
    CHECK_EQ(self->r, 1);
    crt_reader_drop(&self->in);
    crt_reader_init(&self->in, self->b, self->buf, 1);   // the caller's: the zero has no room beside it
    CRT_AWAIT(self->r = crt_reader_fill(cx, &self->in, 1));
    CHECK_EQ(self->r, CRT_EINVAL);
    crt_reader_init(&self->in, self->b, self->buf, 2);
    CHECK_EQ(crt_try_write(self->a, "\n", 1), 1);
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 0, &self->line));
    CHECK(self->r == 0 && !*self->line);
    CRT_FINALLY
        crt_reader_drop(&self->in);
        crt_close(&self->a);
        crt_close(&self->b);
    CRT_END;
}
static void a_reader_begins_with_one_byte(void)
{
    crt_runtime *rt = runtime(0);
    lines l = {.r = 0};
    CHECK_EQ(crt_block_on(rt, lines_run, &l), 0);
    crt_runtime_drop(&rt);
    test_all_freed();
}

// ---- what is left until a deadline is never negative, which would be for ever --------------

static crt_poll due_run(void *frame, crt_cx *cx)
{
    lines *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) CRT_AWAIT(crt_sleep(cx, CRT_US(20)));
    CRT_END;
}
static void nothing_is_left_after_a_deadline(void)
{
    crt_runtime *rt = runtime(0);
    crt_handle *h = crt_runtime_handle(rt);
    CHECK_EQ(crt_handle_spawn(h, due_run, &(lines){.r = 0}), 0);
    int64_t least = 0;
    for (int64_t i = 0; i < 300000; i++) {
        int64_t left = crt__left(crt__clock() + i % 200);
        least = crt__min(least, left);
    }
    CHECK_EQ(least, 0);
    for (int64_t i = 0; i < 100000; i++) {
        crt_duration left = crt_runtime_next_deadline(rt);
        least = crt__min(least, left);
        if (left <= 0) CHECK(crt_runtime_turn(rt, 0) >= 0);
    }
    CHECK_EQ(least, 0);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
    test_all_freed();
}

// ---- the failures of a group that is shut down are nobody's ---------------------------------

typedef struct failing {
    crt_frame co;
    crt_join_set set;
    crt_join_map map;
    crt_poll r;
} failing;
static crt_poll panics_run(void *frame, crt_cx *cx)
{
    failing *self = frame;
    CRT_BEGIN(self, cx);
    CRT_PANIC(cx, "unheard of");
    CRT_END;
}
static crt_poll fails_run(void *frame, crt_cx *cx)
{
    (void)frame, (void)cx;
    return -EXDEV;
}
static crt_poll shut_run(void *frame, crt_cx *cx)
{
    failing *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_join_set_spawn(cx, &self->set, panics_run, &(failing){.r = 0}), 0);
    CHECK_EQ(crt_join_set_spawn(cx, &self->set, fails_run, &(failing){.r = 0}), 0);
    CRT_YIELD();
    test_log_clear();
    CRT_AWAIT(self->r = crt_join_set_shutdown(cx, &self->set));
    CHECK(self->r == 0 && test_log_has("unheard of") && test_log_has("nobody joins it"));
    char error[16];
    snprintf(error, sizeof error, "(%d", -EXDEV);
    CHECK(test_log_has(error));
    CHECK_EQ(crt_join_map_spawn(cx, &self->map, 1, panics_run, &(failing){.r = 0}), 0);
    CRT_YIELD();
    test_log_clear();
    CRT_AWAIT(self->r = crt_join_map_shutdown(cx, &self->map));
    CHECK(self->r == 0 && crt_join_map_len(&self->map) == 0 && test_log_has("unheard of"));
    CRT_FINALLY
        crt_join_set_drop(&self->set);
        crt_join_map_drop(&self->map);
    CRT_END;
}
static void what_a_group_that_is_shut_down_failed_at_is_logged(void)
{
    crt_runtime *rt = runtime(0);
    CHECK_EQ(crt_block_on(rt, shut_run, &(failing){.r = 0}), 0);
    crt_runtime_drop(&rt);
    test_all_freed();
}

int main(int argc, char **argv)
{
    (void)test__on_each;
    test_init(argc, argv);
    TEST(a_parked_transfer_given_null_is_unlinked);
    TEST(spent_readiness_knows_its_generation);
    TEST(a_pinned_task_is_woken_during_a_forced_end);
    TEST(a_dump_ends_what_the_end_passed_by);
    TEST(ticks_that_go_round_erase_no_edge);
    TEST(who_waits_on_another_runtimes_socket_hears_of_its_end);
    TEST(closed_under_another_runtimes_waiters);
    TEST(closed_inside_another_runtimes_read);
    TEST(closed_inside_a_read_without_a_descriptor);
#ifndef _WIN32
    TEST(closed_inside_another_runtimes_flush);
#endif
    TEST(accepted_while_the_runtime_ends);
    TEST(a_worker_that_a_job_carries_is_counted_once);
    TEST(a_reader_begins_with_one_byte);
    TEST(nothing_is_left_after_a_deadline);
    TEST(what_a_group_that_is_shut_down_failed_at_is_logged);
    return test_end();
}
