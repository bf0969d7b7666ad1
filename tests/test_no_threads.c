// CRT_NO_THREADS on a system that has threads: sockets, timers, pipes, signals and children
// on the one thread there is; what needs another says so.
#include <stddef.h>
#include <stdlib.h>
static void *t_malloc(size_t n);
#define CRT_MALLOC(n) t_malloc(n)
#define CRT_FREE(p) free(p)
#define CRT_NO_THREADS
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

typedef struct frame {
    crt_frame co, echo, ask;
    crt_listener *l;
    crt_stream *a, *b;
    crt_join_handle *join;
    crt_timer timer;
    CRT_SELECT(2) both;
    crt_addr addr;
    crt_instant begun;
    crt_poll r, k, n;
    int i;
    char in[16], through[16];
} frame;

static crt_poll echo_run(frame *self, crt_cx *cx)
{
    CRT_BEGIN(&self->echo, cx);
    CRT_AWAIT(self->k = crt_accept(cx, self->l, &self->b, NULL));
    if (self->k < 0) CRT_RETURN(self->k);
    for (;;) {
        CRT_AWAIT(self->n = crt_read(cx, self->b, self->through, sizeof self->through));
        if (self->n <= 0) CRT_RETURN(self->n);
        CRT_AWAIT(self->k = crt_write_all(cx, self->b, self->through, (size_t)self->n));
        if (self->k < 0) CRT_RETURN(self->k);
    }
    CRT_END;
}
static crt_poll ask_run(frame *self, crt_cx *cx)
{
    char text[64];
    CRT_BEGIN(&self->ask, cx);
    CHECK(crt_addr_format(&self->addr, text, sizeof text) > 0);
    CRT_AWAIT(crt_addr_format(&self->addr, text, sizeof text), self->r = crt_tcp_connect(cx, text, &self->a));
    if (self->r < 0) CRT_RETURN(self->r);
    for (self->i = 0; self->i < 100; self->i++) {
        CRT_AWAIT(self->r = crt_write_all(cx, self->a, "0123456789", 10));
        if (self->r < 0) CRT_RETURN(self->r);
        CRT_AWAIT(self->r = crt_read_exact(cx, self->a, self->in, 10));
        if (self->r != 10 || memcmp(self->in, "0123456789", 10)) CRT_RETURN(CRT_EPROTO);
    }
    CRT_AWAIT(self->r = crt_shutdown(cx, self->a));
    CRT_RETURN(self->r);
    CRT_END;
}
static crt_poll sockets_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_local_addr(self->l, &self->addr), 0);
    CRT_AWAIT(self->r = crt_try_join(cx, &self->both, crt_on(cx, 0, echo_run(self, cx)), crt_on(cx, 1, ask_run(self, cx))));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->i, 100);
    CRT_FINALLY
        crt_close(&self->a);
        crt_close(&self->b);
        crt_close(&self->l);
    CRT_END;
}
static crt_poll timers_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    self->begun = crt_now(cx);
    CRT_AWAIT(self->r = crt_sleep(cx, CRT_MS(3)));
    CHECK_EQ(self->r, 0);
    CHECK(crt_now(cx) - self->begun >= CRT_MS(3));
    CHECK_EQ(crt_pipe(cx, &self->a, &self->b), 0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(2), crt_read(cx, self->a, self->in, 4)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CRT_AWAIT(self->r = crt_write_all(cx, self->b, "pipe", 4));
    CHECK_EQ(self->r, 4);
    CRT_AWAIT(self->r = crt_read_exact(cx, self->a, self->in, 4));
    CHECK(self->r == 4 && !memcmp(self->in, "pipe", 4));
    crt_close(&self->b);
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->in, 4));
    CHECK_EQ(self->r, 0);
    CRT_FINALLY
        crt_close(&self->a);
        crt_close(&self->b);
    CRT_END;
}
static crt_poll raises_run(void *arg, crt_cx *cx)
{
    (void)arg;
    (void)cx;
    return raise(SIGTERM) ? CRT_EPROTO : 0;
}
static crt_poll signals_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 20; self->i++) {
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, 0, crt_signal_recv(cx, SIGTERM)));   // hooked by now
        CHECK_EQ(self->r, CRT_ETIMEDOUT);
        CHECK_EQ(crt_spawn(cx, raises_run, &(int){0}), 0);
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(20), crt_signal_recv(cx, SIGTERM)));
        CHECK(self->r >= 0);
    }
    CRT_END;
}
static intptr_t job(void *arg) { return (intptr_t)arg; }
static crt_poll others_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    test_log_clear();
    CHECK_EQ(crt_spawn_blocking(cx, &self->join, job, NULL), -ENOTSUP);
    CHECK(!self->join);
    CHECK(test_log_has("needs a thread"));
    CRT_END;
}
// A bounded channel has all its memory from the start; a wait that only another could end is taken back.
static int mallocs_left = -1;
static void *t_malloc(size_t n)
{
    if (mallocs_left >= 0 && mallocs_left-- == 0) return NULL;
    return malloc(n);
}
static void channels(void)
{
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    int e, tries = 0, value = 0;
    size_t bounds[] = {0, 1, 3, 100, 1000};
    for (int i = 0; i < 5; i++) {
        do {
            mallocs_left = i == 3 ? tries++ : -1;
            e = crt_mpsc_new(sizeof value, bounds[i], &tx, &rx);
            mallocs_left = -1;
            if (e) CHECK(e == CRT_ENOMEM && !tx && !rx);
        } while (e);
        if (bounds[i]) mallocs_left = 0;   // from here on it needs none
        for (size_t round = 0; round < 3; round++) {
            size_t n = bounds[i] ? bounds[i] : 500;
            for (size_t k = 0; k < n; k++) CHECK_EQ(crt_mpsc_try_send(tx, &(int){(int)k}), 0);
            if (bounds[i]) CHECK_EQ(crt_mpsc_try_send(tx, &value), CRT_EFULL);
            for (size_t k = 0; k < n; k++) CHECK(crt_mpsc_try_recv(rx, &value) == 0 && value == (int)k);
            CHECK_EQ(crt_mpsc_try_recv(rx, &value), CRT_EEMPTY);
        }
        mallocs_left = -1;
        CHECK_EQ(crt_mpsc_blocking_recv(rx, &value), CRT_ENOCONTEXT);
        CHECK_EQ(crt_mpsc_try_send(tx, &(int){7}), 0);   // nobody waits
        CHECK(crt_mpsc_blocking_recv(rx, &value) == 0 && value == 7);
        crt_mpsc_tx_drop(&tx);
        crt_mpsc_rx_drop(&rx);
    }
    CHECK(tries > 2);
}
static void run(crt_fn fn)
{
    crt_runtime *rt;
    static frame f;
    int fds = test_fd_count();
    memset(&f, 0, sizeof f);
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .log.func = test_log}, &rt), 0);
    CHECK_EQ(crt_block_on(rt, fn, &f), 0);
    CHECK_EQ(crt_runtime_shutdown(rt, CRT_SEC(10)), 0);
    crt_runtime_drop(&rt);
    if (fn != signals_run) CHECK_EQ(test_fd_count(), fds);   // the pipe of signals stays
}
static void an_echo(void) { run(sockets_run); }
static void timers_and_a_pipe(void) { run(timers_run); }
static void signals(void) { run(signals_run); }
static void what_needs_a_thread_says_so(void) { run(others_run); }
static void no_workers(void)
{
    crt_runtime *rt;
    test_log_clear();
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_MULTI_THREAD, .log.func = test_log}, &rt), CRT_EINVAL);
    CHECK(!rt && test_log_has("CRT_NO_THREADS"));
}

int main(int argc, char **argv)
{
    (void)test__on_each;
    test_init(argc, argv);
    run(others_run);   // opens what the process keeps
    TEST(an_echo);
    TEST(timers_and_a_pipe);
    TEST(signals);
    TEST(what_needs_a_thread_says_so);
    TEST(no_workers);
    TEST(channels);
    return test_end();
}
