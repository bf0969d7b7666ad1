// What belongs to one runtime (a), waited on by a task of another (b), and by nobody's: it works, or says
// why not; and whichever is closed, dropped or cancelled first, memory is there as long as somebody looks at it
// (under AddressSanitizer), and is freed afterwards. Reads, writes and plain accepts: test_regressions.
#define CRT_PLATFORM_HEADER "faulty_platform.h"
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

#include <errno.h>

static crt_runtime *runtime(unsigned drivers)
{
    crt_runtime *rt = NULL;
    crt_config c = {.drivers = drivers, .allocator = TEST_COUNTED, .log = {.func = test_log}};
    c.flavor = CRT_CURRENT_THREAD;
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    return rt;
}

// Everything of runtime a that is lent. Who waits has copies of the pointers.
typedef struct things {
    crt_listener *l;
    crt_stream *a, *b, *near, *far;
    crt_udp *u, *full;
    crt_addr to;
    crt_process *p;
    crt_join_handle *task, *job;
} things;
static things lent;

// ---- pauses --------------------------------------------------------------------

enum { ACCEPT, SEND, PAUSES };
typedef struct pauser {
    crt_frame co;
    int how;
    crt_poll r;
    crt_listener *l;
    crt_udp *u;
    crt_stream *s;
    crt_addr to;
} pauser;
static crt_poll pauser_run(void *frame, crt_cx *cx)
{
    pauser *self = frame;
    CRT_BEGIN(self, cx);
    if (self->how == ACCEPT) CRT_AWAIT(self->r = crt_accept(cx, self->l, &self->s, NULL));
    else CRT_AWAIT(self->r = crt_udp_send_to(cx, self->u, "x", 1, &self->to));
    CRT_RETURN(self->r);
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
typedef struct lender {
    crt_frame co;
    int how;
    crt_poll r;
} lender;
static crt_poll lend_run(void *frame, crt_cx *cx)
{
    lender *self = frame;
    CRT_BEGIN(self, cx);
    if (self->how == ACCEPT) {
        CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &lent.l));
    } else {
        CRT_AWAIT(self->r = crt_unix_dgram_bind(cx, "@crt-abroad", NULL, &lent.full));
        CHECK_EQ(self->r, 0);
        CRT_AWAIT(self->r = crt_unix_dgram_bind(cx, NULL, NULL, &lent.u));
        CHECK_EQ(crt_local_addr(lent.full, &lent.to), 0);
        while ((self->r = crt_udp_try_send_to(lent.u, "x", 1, &lent.to)) >= 0) {}
        CHECK_EQ(self->r, CRT_EAGAIN);
        crt__ready_set((crt__sock *)lent.u, CRT__WRITABLE);   // as the next edge does: it has room, the receiver has none
        self->r = 0;
    }
    CHECK_EQ(self->r, 0);
    CRT_END;
}
static void give_back(void)
{
    crt_close(&lent.l);
    crt_close(&lent.u);
    crt_close(&lent.full);
}
static bool settle(crt_runtime *b, crt_join_handle *join)
{
    for (int i = 0; i < 4000 && !crt_is_finished(join); i++) {
        if (crt_runtime_turn(b, 0) < 0) break;
        test_pause_us(500);
    }
    return crt_is_finished(join);
}

enum { POLLED, ABORTED, ENDS_TOO, WAYS };
enum { CLOSED_FIRST, DROPPED_FIRST, ORDERS };
static void outlive(int how, int order, int way)
{
    crt_runtime *a = runtime(0), *b = runtime(0);
    crt_handle *h = crt_runtime_handle(b);
    crt_join_handle *join;
    intptr_t result = 0;
    lender f = {.how = how};
    if (how == ACCEPT) fault_always(FAULT_ACCEPT, EMFILE);
    CHECK_EQ(crt_block_on(a, lend_run, &f), 0);
    pauser each = {.how = how, .l = lent.l, .u = lent.u, .to = lent.to};
    CHECK_EQ(crt_handle_spawn_join(h, &join, pauser_run, &each), 0);
    if (how == ACCEPT) crt__ready_set((crt__sock *)lent.l, CRT__READABLE);   // as if somebody had connected
    CHECK_EQ(crt_runtime_turn(b, 0), 1);
    CHECK(!crt_is_finished(join));
    CHECK(((crt_task *)join)->u.slot.op == (how == ACCEPT ? &crt__op_accept_pause : &crt__op_udp_pause));
    if (order == DROPPED_FIRST) crt_runtime_drop(&a);
    give_back();
    crt_runtime_drop(&a);
    if (way == ABORTED) crt_abort(join);
    if (way == ENDS_TOO) crt_runtime_drop(&b);
    else CHECK(settle(b, join));
    CHECK_EQ(crt_join_blocking(&join, &result), way == POLLED ? 0 : CRT_ECANCELED);
    if (way == POLLED) CHECK_EQ(result, CRT_ECLOSED);
    fault_always(FAULT_ACCEPT, 0);
    crt_handle_drop(&h);
    crt_runtime_drop(&b);
    test_all_freed();
}
#ifdef __linux__   // a full receiver holds up who sends, and names may be abstract
enum { FULL_RECEIVERS_WAIT = 1 };
#else
enum { FULL_RECEIVERS_WAIT = 0 };
#endif
static void paused_accept_outlives_the_listeners_runtime(void)
{
    for (int i = 0; i < ORDERS * WAYS; i++) outlive(ACCEPT, i % ORDERS, i / ORDERS);
}
static void paused_send_outlives_the_sockets_runtime(void)
{
    for (int i = 0; i < ORDERS * WAYS; i++) outlive(SEND, i % ORDERS, i / ORDERS);
}

// A pause that was closed under does not go on with the socket that has the record now.
static void paused_send_meets_no_other_socket(void)
{
    crt_runtime *a = runtime(0);
    crt_handle *h = crt_runtime_handle(a);
    crt_join_handle *join;
    intptr_t result = 0;
    lender f = {.how = SEND};
    CHECK_EQ(crt_block_on(a, lend_run, &f), 0);
    pauser each = {.how = SEND, .u = lent.u, .to = lent.to};
    CHECK_EQ(crt_handle_spawn_join(h, &join, pauser_run, &each), 0);
    CHECK_EQ(crt_runtime_turn(a, 0), 1);
    void *was = lent.u;
    give_back();
    CHECK_EQ(crt_block_on(a, lend_run, &(lender){.how = SEND}), 0);
    CHECK(was == (void *)lent.u || was == (void *)lent.full);
    CHECK(settle(a, join));
    CHECK_EQ(crt_join_blocking(&join, &result), 0);
    CHECK_EQ(result, CRT_ECLOSED);
    give_back();
    crt_handle_drop(&h);
    crt_runtime_drop(&a);
    test_all_freed();
}

// ---- a listener is closed while its accept is inside the call that finds no descriptor --------

static crt_poll fill_run(void *frame, crt_cx *cx)
{
    crt_stream **s = frame;
    for (int i = 0; i < 8; i += 2) CHECK_EQ(crt_duplex(cx, 8, &s[i], &s[i + 1]), 0);
    return 0;
}
static void a_listener_closed_inside_its_accept(void)
{
    crt_runtime *a = runtime(0);
    crt_handle *h = crt_runtime_handle(a);
    crt_join_handle *join;
    crt_stream *s[8];
    intptr_t result = 0;
    CHECK_EQ(crt_block_on(a, lend_run, &(lender){.how = ACCEPT}), 0);
    pauser each = {.how = ACCEPT, .l = lent.l};
    CHECK_EQ(crt_handle_spawn_join(h, &join, pauser_run, &each), 0);
    CHECK_EQ(crt_runtime_turn(a, 0), 1);
    CHECK(crt__sock_event(a, crt__sock_token((crt__sock *)lent.l), CRT__READABLE));
    fault_always(FAULT_ACCEPT, EMFILE);
    fault.meanwhile = give_back;
    CHECK_EQ(crt_runtime_turn(a, 0), 1);
    CHECK(!fault.meanwhile && !lent.l);
    fault_always(FAULT_ACCEPT, 0);
    // The records that are free are all right, and none of them is the one that it goes on with.
    CHECK_EQ(crt_block_on(a, fill_run, s), 0);
    CHECK(settle(a, join));
    CHECK_EQ(crt_join_blocking(&join, &result), 0);
    CHECK_EQ(result, CRT_ECLOSED);
    for (int i = 0; i < 8; i++) crt_close(&s[i]);
    crt_handle_drop(&h);
    crt_runtime_drop(&a);
    test_all_freed();
}

// ---- a runtime that lacks what the wait needs -------------------------------------

static void runtimes_without_drivers_say_so(void)
{
    crt_runtime *a = runtime(0), *none = runtime(CRT_DRIVER_TIME), *no_time = runtime(CRT_DRIVER_IO);
    CHECK_EQ(crt_block_on(a, lend_run, &(lender){.how = ACCEPT}), 0);
    crt__ready_set((crt__sock *)lent.l, CRT__READABLE);
    pauser each = {.how = ACCEPT, .l = lent.l};
    CHECK_EQ(crt_block_on(none, pauser_run, &each), CRT_ENODRIVER);
    each = (pauser){.how = ACCEPT, .l = lent.l};
    fault_always(FAULT_ACCEPT, EMFILE);
    CHECK_EQ(crt_block_on(no_time, pauser_run, &each), -EMFILE);
    fault_always(FAULT_ACCEPT, 0);
    give_back();
    CHECK_EQ(crt_block_on(a, lend_run, &(lender){.how = SEND}), 0);
    each = (pauser){.how = SEND, .u = lent.u, .to = lent.to};
    CHECK_EQ(crt_block_on(no_time, pauser_run, &each), CRT_EAGAIN);
    give_back();
    crt_runtime_drop(&a);
    crt_runtime_drop(&none);
    crt_runtime_drop(&no_time);
    test_all_freed();
}

// ---- everything else ----------------------------------------------------------------

static intptr_t job(void *arg) { return (intptr_t)arg + 1; }
static crt_poll end_run(void *frame, crt_cx *cx)
{
    lender *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(300)));
    CRT_RETURN(7);
    CRT_END;
}
static crt_poll own_run(void *frame, crt_cx *cx)
{
    static const char *const argv[] = {"sleep", "0.05", NULL};
    lender *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &lent.a, &lent.b), 0);
    CHECK_EQ(crt_duplex(cx, 64, &lent.near, &lent.far), 0);
    CHECK_EQ(crt_spawn_join(cx, &lent.task, end_run, &(lender){.how = 0}), 0);
    CHECK_EQ(crt_spawn_blocking(cx, &lent.job, job, (void *)41), 0);
    CRT_AWAIT(self->r = crt_process_spawn(cx, &(crt_process_desc){.argv = argv, .kill_on_drop = true}, &lent.p));
    CHECK_EQ(self->r, 0);
    CRT_END;
}
enum { TASK, JOB, PROCESS, SOFT, TIMER, INTERVAL, FD, DELAY, THINGS };
static crt_timer timer;         // set by a task of a
static crt_interval interval;
static crt_delay_queue queue;
static crt_delay later;
static crt_poll set_run(void *frame, crt_cx *cx)
{
    (void)frame;
    crt_timer_reset(cx, &timer, CRT_MS(3));
    crt_interval_init(&interval, CRT_MS(1), CRT_BURST);
    crt_interval_reset(cx, &interval);
    return crt_delay_insert(cx, &queue, &later, CRT_MS(3));
}
typedef struct guest {
    crt_frame co;
    int how;
    crt_poll r;
    intptr_t result;
    crt_stream *near;
    crt_process *p;
    crt_delay *due;
    intptr_t fd;
    char buf[8];
} guest;
static crt_poll wait_for(guest *self, crt_cx *cx)
{
    switch (self->how) {
    case TASK: return crt_join(cx, &lent.task, &self->result);
    case JOB: return crt_join(cx, &lent.job, &self->result);
    case PROCESS: return crt_process_wait(cx, self->p, NULL);
    case SOFT: return crt_read(cx, self->near, self->buf, 8);
    case TIMER: return crt_timer_wait(cx, &timer);
    case INTERVAL: return crt_interval_tick(cx, &interval);
    case FD: return crt_fd_readable(cx, self->fd);
    default: return crt_delay_next(cx, &queue, &self->due);
    }
}
static crt_poll guest_run(void *frame, crt_cx *cx)
{
    guest *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = wait_for(self, cx));
    CRT_RETURN(self->r);
    CRT_END;
}
// `ends`: a is dropped, and what was lent closed, while b waits.
static void be_guest(int how, bool ends)
{
    crt_runtime *a = runtime(0), *b = runtime(0);
    crt_handle *h = crt_runtime_handle(b);
    crt_join_handle *join;
    intptr_t result = 0, want = 0;
    memset(&timer, 0, sizeof timer);
    memset(&queue, 0, sizeof queue);
    memset(&later, 0, sizeof later);
    CHECK_EQ(crt_block_on(a, own_run, &(lender){.how = 0}), 0);
    CHECK_EQ(crt_block_on(a, set_run, NULL), 0);
    guest each = {.how = how, .near = lent.near, .p = lent.p, .fd = crt_stream_fd(lent.a)};
    CHECK_EQ(crt_handle_spawn_join(h, &join, guest_run, &each), 0);
    CHECK(crt_runtime_turn(b, 0) >= 1);
    if (ends) {
        crt_close(&lent.near);
        crt_close(&lent.far);
        crt_close(&lent.p);
        crt_close(&lent.a);
        crt_close(&lent.b);
        crt_runtime_drop(&a);
        if (how == TASK) want = CRT_ECANCELED;
        if (how == SOFT || how == PROCESS) want = CRT_ECLOSED;
    } else {
        CHECK_EQ(crt_try_write(lent.b, "1", 1), 1);
        CHECK_EQ(crt_try_write(lent.far, "1", 1), 1);
        if (how == TASK || how == JOB)
            for (int i = 0; i < 4000 && !crt_is_finished(how == TASK ? lent.task : lent.job); i++) {
                (void)crt_runtime_turn(a, 0);
                test_pause_us(500);
            }
        if (how == SOFT) want = 1;
    }
    for (int i = 0; i < 1000 && a && !crt_is_finished(join); i++) {   // what a knows goes on
        (void)crt_runtime_turn(a, 0);
        (void)crt_runtime_turn(b, 0);
        test_pause_us(500);
    }
    CHECK(settle(b, join));
    CHECK_EQ(crt_join_blocking(&join, &result), 0);
    if (!(how == JOB && ends)) CHECK_EQ(result, want);   // that one may have run before the end
    crt_close(&lent.near);
    crt_close(&lent.far);
    crt_close(&lent.p);
    crt_close(&lent.a);
    crt_close(&lent.b);
    crt_delay_queue_drop(&queue);
    crt_detach(&lent.task);
    crt_detach(&lent.job);
    crt_handle_drop(&h);
    crt_runtime_drop(&b);
    crt_runtime_drop(&a);
    test_all_freed();
}
static void each_thing_is_waited_on_from_abroad(void)
{
    for (int how = 0; how < THINGS; how++) be_guest(how, false);
}
static void each_thing_ends_under_a_wait_from_abroad(void)
{
    for (int how = 0; how < THINGS; how++) be_guest(how, true);
}

// A thread that belongs to no runtime.
static void from_no_runtime(void)
{
    crt_runtime *a = runtime(0);
    crt_stream *s = NULL;
    intptr_t result = 0;
    char c;
    CHECK_EQ(crt_block_on(a, own_run, &(lender){.how = 0}), 0);
    CHECK_EQ(crt_block_on(a, lend_run, &(lender){.how = ACCEPT}), 0);
    CHECK_EQ(crt_join_blocking(&lent.job, &result), 0);
    CHECK_EQ(result, 42);
    crt_runtime_drop(&a);
    CHECK_EQ(crt_join_blocking(&lent.task, &result), CRT_ECANCELED);
    CHECK_EQ(crt_try_accept(lent.l, &s, NULL), CRT_ESHUTDOWN);
    CHECK_EQ(crt_try_read(lent.a, &c, 1), CRT_ESHUTDOWN);
    CHECK_EQ(crt_try_write(lent.a, "1", 1), CRT_ESHUTDOWN);
    crt_close(&lent.near);
    crt_close(&lent.far);
    crt_close(&lent.p);
    crt_close(&lent.a);
    crt_close(&lent.b);
    give_back();
    test_all_freed();
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST(paused_accept_outlives_the_listeners_runtime);
    if (FULL_RECEIVERS_WAIT) {
        TEST(paused_send_outlives_the_sockets_runtime);
        TEST(paused_send_meets_no_other_socket);
        TEST(runtimes_without_drivers_say_so);
    }
    TEST(a_listener_closed_inside_its_accept);
    TEST(each_thing_is_waited_on_from_abroad);
    TEST(each_thing_ends_under_a_wait_from_abroad);
    TEST(from_no_runtime);
    return test_end();
}
