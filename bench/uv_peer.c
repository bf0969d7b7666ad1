// The libuv side of bench/: the same work, with the same counts, as bench_core.c, as far as libuv has a natural
// counterpart for it: one loop on one thread (rt=ct), two loops on two threads where a message crosses (rt=mt2).
//
//   cc -O2 -o uv_peer uv_peer.c -luv -pthread
#include "http_answer.h"
#include "meter.h"

#include <arpa/inet.h>
#include <uv.h>

static uv_loop_t *loop;
static size_t n, left;

static void must(int result)
{
    if (result < 0) die("%s", uv_strerror(result));
}

static int rt_is(const char *rt)
{
    return !strcmp(opt_text("rt", "mt2"), rt);
}

static void only_ct(void)
{
    if (!rt_is("ct")) exit(NO_COUNTERPART);
}

static void run_loop(void)
{
    uv_run(loop, UV_RUN_DEFAULT);
}

// ---------------------------------------------------------------------------------------------- time

static uv_timer_t *timers;

static void make_timers(size_t count)
{
    timers = must_alloc(count, sizeof *timers);
    for (size_t i = 0; i < count; i++) must(uv_timer_init(loop, &timers[i]));
}

static void on_ignored(uv_timer_t *t)
{
    (void)t;
}

static void timer_cancel_once(void *arg)
{
    uint64_t rng = SEED;
    (void)arg;
    meter_start();
    for (size_t i = 1; i <= n; i++) {
        must(uv_timer_start(timers, on_ignored, 1000 + (rng_next(&rng) & 0x3fff), 0));
        uv_timer_stop(timers);
        if (i % 100 == 0) uv_run(loop, UV_RUN_NOWAIT);   // so that the loop gets its turns as in a real program
    }
    meter_stop();
}

static void timer_cancel(const char *name)
{
    size_t live = opt_num("live", 0), tick = opt_num("tick", 0);
    uint64_t rng = SEED;
    only_ct();
    n = opt_num("n", 200000);
    make_timers(2 + live);
    if (tick) must(uv_timer_start(&timers[1], on_ignored, tick, tick));
    for (size_t i = 0; i < live; i++)
        must(uv_timer_start(&timers[2 + i], on_ignored, 60000 + rng_next(&rng) % 600000, 0));
    measure(timer_cancel_once, NULL);
    report(name, text("n=%zu,live=%zu,tick=%zu", n, live, tick), n, "");
}

static void on_slept(uv_timer_t *t)
{
    if (--left == 0) uv_stop(t->loop);
}

// random: the sleeps last from 1 to `ms` milliseconds.
static void sleep_once(void *random)
{
    uint64_t each = opt_num("ms", random ? 1000 : 1), rng = SEED;
    meter_start();
    left = n;
    uv_update_time(loop);
    for (size_t i = 0; i < n; i++)
        must(uv_timer_start(&timers[i], on_slept, random ? 1 + rng_next(&rng) % each : each, 0));
    run_loop();
    meter_stop();
}

static void sleep_fixed(const char *name)
{
    only_ct();
    make_timers(n = opt_num("n", 10000));
    measure(sleep_once, NULL);
    report(name, text("n=%zu,ms=%zu", n, opt_num("ms", 1)), n, "");
}

static void sleep_rand(const char *name)
{
    only_ct();
    if (opt_num("late", 0)) exit(NO_COUNTERPART);
    make_timers(n = opt_num("n", 1000000));
    measure(sleep_once, &n);
    report(name, text("n=%zu,ms=%zu,late=0", n, opt_num("ms", 1000)), n, text("peak_rss=%.0fKiB", peak_rss_kib()));
}

// ------------------------------------------------------------------------------------- blocking pool

static uv_work_t *jobs;

static void on_work(uv_work_t *w)
{
    (void)w;
}
static void on_done(uv_work_t *w, int status)
{
    (void)w;
    must(status);
}

static void spawn_blocking_once(void *arg)
{
    (void)arg;
    meter_start();
    for (size_t i = 0; i < n; i++) must(uv_queue_work(loop, &jobs[i], on_work, on_done));
    run_loop();
    meter_stop();
}

// libuv's pool has the size that it has by default, whatever cap is: it is the faster for it.
static void spawn_blocking(const char *name)
{
    only_ct();
    jobs = must_alloc(n = opt_num("n", 10000), sizeof *jobs);
    measure(spawn_blocking_once, NULL);
    report(name, text("n=%zu,cap=%zu", n, opt_num("cap", 512)), n, "");
}

static void on_done_next(uv_work_t *w, int status)
{
    must(status);
    if (--left) must(uv_queue_work(loop, w, on_work, on_done_next));
}

static void spawn_blocking_seq_once(void *arg)
{
    (void)arg;
    meter_start();
    left = n;
    must(uv_queue_work(loop, jobs, on_work, on_done_next));
    run_loop();
    meter_stop();
}

static void spawn_blocking_seq(const char *name)
{
    only_ct();
    n = opt_num("n", 2000);
    jobs = must_alloc(1, sizeof *jobs);
    measure(spawn_blocking_seq_once, NULL);
    report(name, text("n=%zu", n), n, "");
}

// ------------------------------------------------------------------------------------------ messages

// libuv wakes another loop, or itself, by uv_async_send alone. A round trip is one each way; ct: both in one loop.
static uv_async_t ping, pong, quit;
static uv_loop_t other_loop;

static void on_ping(uv_async_t *a)
{
    (void)a;
    must(uv_async_send(&pong));
}

static void on_pong(uv_async_t *a)
{
    if (--left == 0) uv_stop(a->loop);
    else must(uv_async_send(&ping));
}

static void on_quit(uv_async_t *a)
{
    uv_stop(a->loop);
}

static void run_other_loop(void *arg)
{
    (void)arg;
    uv_run(&other_loop, UV_RUN_DEFAULT);
}

static void ping_pong_once(void *arg)
{
    (void)arg;
    meter_start();
    left = n;
    must(uv_async_send(&ping));
    run_loop();
    meter_stop();
}

static void notify_pingpong(const char *name)
{
    uv_thread_t thread;
    int two = rt_is("mt2");
    if (!two) only_ct();
    n = opt_num("n", 50000);
    must(uv_loop_init(&other_loop));
    must(uv_async_init(two ? &other_loop : loop, &ping, on_ping));
    must(uv_async_init(&other_loop, &quit, on_quit));
    must(uv_async_init(loop, &pong, on_pong));
    must(uv_thread_create(&thread, run_other_loop, NULL));
    measure(ping_pong_once, NULL);
    must(uv_async_send(&quit));
    must(uv_thread_join(&thread));
    report(name, text("n=%zu", n), n, "");
}

// ----------------------------------------------------------------------------------------------- net

// Connections share one buffer to read into, as nothing of it is needed after the callback, except the start of a
// request head, which moves to memory of the connection's own.
typedef struct conn {
    uv_tcp_t tcp;
    char *head;
    size_t head_len;
} conn;

typedef struct pending_write {
    uv_write_t req;
    char data[];
} pending_write;

static int http;
static char input[HTTP_BUFFER];

static void on_closed(uv_handle_t *h)
{
    free(((conn *)h)->head);
    free(h);
}

static void conn_close(conn *c)
{
    if (!uv_is_closing((uv_handle_t *)c)) uv_close((uv_handle_t *)c, on_closed);
}

static void on_written(uv_write_t *w, int status)
{
    (void)status;
    free(w);
}

static void conn_send(conn *c, char *data, size_t size)
{
    uv_buf_t b = uv_buf_init(data, (unsigned)size);
    int sent = uv_try_write((uv_stream_t *)c, &b, 1);
    if (sent == UV_EAGAIN) sent = 0;
    if (sent < 0) conn_close(c);
    if (sent < 0 || (size_t)sent == size) return;
    pending_write *w = must_alloc(1, sizeof *w + size - (size_t)sent);
    memcpy(w->data, data + sent, size - (size_t)sent);
    b = uv_buf_init(w->data, (unsigned)(size - (size_t)sent));
    must(uv_write(&w->req, (uv_stream_t *)c, &b, 1, on_written));
}

static void conn_answer(conn *c, size_t size)
{
    static char out[HTTP_BUFFER];
    char *at = input;
    do {
        size_t used, answer = http_answer(at, size, out, &used);
        if (answer == 0) break;
        at += used;
        size -= used;
        conn_send(c, out, answer);
    } while (size);
    if (size == sizeof input) conn_close(c);   // a head that is too large
    c->head_len = size;
    if (size && !c->head) c->head = must_alloc(1, sizeof input);
    if (size) memcpy(c->head, at, size);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *b)
{
    conn *c = (conn *)h;
    (void)suggested;
    if (c->head_len) memcpy(input, c->head, c->head_len);
    *b = uv_buf_init(input + c->head_len, (unsigned)(sizeof input - c->head_len));
}

static void on_read(uv_stream_t *s, ssize_t got, const uv_buf_t *b)
{
    conn *c = (conn *)s;
    (void)b;
    if (got < 0) conn_close(c);
    else if (got > 0 && http) conn_answer(c, c->head_len + (size_t)got);
    else if (got > 0) conn_send(c, input, (size_t)got);
}

static void on_connection(uv_stream_t *server, int status)
{
    must(status);
    conn *c = must_alloc(1, sizeof *c);
    must(uv_tcp_init(loop, &c->tcp));
    must(uv_accept(server, (uv_stream_t *)c));
    must(uv_tcp_nodelay(&c->tcp, 1));
    must(uv_read_start((uv_stream_t *)c, on_alloc, on_read));
}

static void serve(const char *name)
{
    uv_tcp_t server;
    struct sockaddr_in a;
    int size = sizeof a;
    only_ct();
    http = !strcmp(name, "serve_http");
    if (opt_num("spin", 0)) exit(NO_COUNTERPART);   // there is no other worker
    prepare_to_serve();
    must(uv_ip4_addr("127.0.0.1", (int)opt_num("port", 0), &a));
    must(uv_tcp_init(loop, &server));
    must(uv_tcp_bind(&server, (struct sockaddr *)&a, 0));
    must(uv_listen((uv_stream_t *)&server, 4096, on_connection));
    must(uv_tcp_getsockname(&server, (struct sockaddr *)&a, &size));
    say_listening(text("127.0.0.1:%d", ntohs(a.sin_port)));
    run_loop();
}

// ---------------------------------------------------------------------------------------------- main

static const struct {
    const char *name;
    void (*run)(const char *name);
} workloads[] = {
    { "timer_cancel", timer_cancel },
    { "sleep_fixed", sleep_fixed },
    { "sleep_rand", sleep_rand },
    { "spawn_blocking", spawn_blocking },
    { "spawn_blocking_seq", spawn_blocking_seq },
    { "notify_pingpong", notify_pingpong },
    { "serve_echo", serve },
    { "serve_http", serve },
};

int main(int argc, char **argv)
{
    const char *name = take_args(argc, argv);
    loop = uv_default_loop();
    for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++)
        if (!strcmp(workloads[i].name, name)) {
            workloads[i].run(name);
            return 0;
        }
    return NO_COUNTERPART;
}
