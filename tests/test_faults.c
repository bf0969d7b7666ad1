// What fails now and then: every allocation in turn, and system calls by seed.
//
// Part one runs an echo server with clients, timers, selects, channels, a file and a
// blocking job, and lets the n-th allocation fail, for each n until a run passes
// without a fault. Three ways to go on: give up at the first error; try again, which
// has to end well, as a failed call has changed nothing; and memory that never comes back.
// Part two runs an echo on a platform that lies as real ones do (see faulty_platform.h).

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

static long alloc_count, alloc_fail_at, alloc_live;   // atomic; fail_at 0: never
static bool alloc_fails_for_good;
static void *faulty_malloc(size_t size)
{
    long n = __atomic_add_fetch(&alloc_count, 1, __ATOMIC_SEQ_CST);
    long at = __atomic_load_n(&alloc_fail_at, __ATOMIC_SEQ_CST);
    if (at && (alloc_fails_for_good ? n >= at : n == at)) return NULL;
    __atomic_fetch_add(&alloc_live, 1, __ATOMIC_SEQ_CST);
    return malloc(size);
}
static void faulty_free(void *p)
{
    if (!p) return;
    __atomic_fetch_sub(&alloc_live, 1, __ATOMIC_SEQ_CST);
    free(p);
}
#define CRT_MALLOC(size) faulty_malloc(size)   // channels and tokens belong to no runtime
#define CRT_FREE(p) faulty_free(p)
#define CRT_PLATFORM_HEADER "faulty_platform.h"
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

#include <pthread.h>

static void *hook_alloc(size_t size, void *user)
{
    CHECK(user == &alloc_count);
    return faulty_malloc(size);
}
static void hook_free(void *p, void *user)
{
    CHECK(user == &alloc_count);
    CHECK(p != NULL);
    faulty_free(p);
}
#ifdef _WIN32
#define A_FILE __FILE__
#else
#define A_FILE "/proc/self/comm"   // of no size that could be known before
#endif
static unsigned char pattern(uint32_t id, size_t i) { return (unsigned char)((i + id * 7919u) * 2654435761u >> 15 ^ i); }
static void silent(int level, const char *message, void *user)
{
    (void)level;
    (void)message;
    (void)user;
}

// ---- part one: allocations ----------------------------------------------------

static bool again;         // a call that had no memory is tried again
static int enomem_seen;    // atomic
static bool out_of_memory(crt_poll r)
{
    if (r != CRT_ENOMEM) return false;
    __atomic_fetch_add(&enomem_seen, 1, __ATOMIC_SEQ_CST);
    return again;
}
// Awaits, or calls, until it is not for want of memory that it fails. An error ends the task.
#define AWAIT(...)                                             \
    do CRT_AWAIT(self->r = (__VA_ARGS__));                     \
    while (out_of_memory(self->r));                            \
    if (self->r < 0) CRT_RETURN(self->r)
#define CALL(...)                                              \
    do self->r = (__VA_ARGS__);                                \
    while (out_of_memory(self->r));                            \
    if (self->r < 0) CRT_RETURN(self->r)

enum { CLIENTS = 3, ROUNDS = 3, BYTES = 200 };
typedef struct echo {
    crt_frame co;
    crt_stream *peer;
    crt_poll r;
    char buf[64];
} echo;
static crt_poll echo_run(void *frame, crt_cx *cx)
{
    echo *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        AWAIT(crt_read(cx, self->peer, self->buf, sizeof self->buf));
        if (self->r == 0) CRT_RETURN(0);
        AWAIT(crt_write_all(cx, self->peer, self->buf, (size_t)self->r));
    }
    CRT_FINALLY
        crt_close(&self->peer);
    CRT_END;
}

typedef struct server {
    crt_frame co;
    crt_listener *l;
    crt_stream *peer;
    crt_join_handle *join[CLIENTS];
    intptr_t result;
    crt_poll r, a;
    CRT_SELECT(2) sel;
    crt_notify *listening;
    char *address;
    int i;
} server;
static crt_poll server_run(server *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    AWAIT(crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    {
        crt_addr a;
        crt_local_addr(self->l, &a);
        crt_addr_format(&a, self->address, 64);
    }
    crt_notify_one(self->listening);
    for (self->i = 0; self->i < CLIENTS; self->i++) {
        do {
            CRT_AWAIT(self->r = crt_select(cx, &self->sel,
                crt_on(cx, 0, self->a = crt_accept(cx, self->l, &self->peer, NULL)),
                crt_on(cx, 1, crt_sleep(cx, CRT_SEC(30)))));
        } while (out_of_memory(self->a));
        if (self->a < 0) CRT_RETURN(self->a);
        CALL(crt_spawn_join(cx, &self->join[self->i], echo_run, &(echo){.peer = self->peer}));
        self->peer = NULL;
    }
    for (self->i = 0; self->i < CLIENTS; self->i++) {
        AWAIT(crt_join(cx, &self->join[self->i], &self->result));
        if (self->result < 0) CRT_RETURN(self->result);
    }
    CRT_FINALLY
        crt_close(&self->peer);
        crt_close(&self->l);
        for (int i = 0; i < CLIENTS; i++) crt_detach(&self->join[i]);
    CRT_END;
}

typedef struct client {
    crt_frame co;
    const char *address;
    crt_stream *s;
    crt_mpsc_tx *report;
    crt_timer timer;
    crt_poll r;
    uint32_t id;
    int round;
    unsigned char out[BYTES], in[BYTES];
} client;
static crt_poll client_run(void *frame, crt_cx *cx)
{
    client *self = frame;
    CRT_BEGIN(self, cx);
    AWAIT(crt_tcp_connect(cx, self->address, &self->s));
    for (self->round = 0; self->round < ROUNDS; self->round++) {
        for (int i = 0; i < BYTES; i++) self->out[i] = pattern(self->id, (size_t)(self->round * BYTES + i));
        AWAIT(crt_write_all(cx, self->s, self->out, BYTES));
        AWAIT(crt_timeout(cx, &self->timer, CRT_SEC(30), crt_read_exact(cx, self->s, self->in, BYTES)));
        CHECK_EQ(memcmp(self->in, self->out, BYTES), 0);
        AWAIT(crt_sleep(cx, CRT_US(100)));
    }
    AWAIT(crt_mpsc_send(cx, self->report, &self->id));
    CRT_FINALLY
        crt_close(&self->s);
        crt_mpsc_tx_drop(&self->report);
    CRT_END;
}

typedef struct clients {
    crt_frame co;
    crt_notify *listening;
    const char *address;
    crt_mpsc_tx *tx, *twin;
    crt_mpsc_rx *rx;
    crt_join_handle *join[CLIENTS];
    intptr_t result;
    crt_poll r;
    uint32_t id, sum;
    int i;
} clients;
static crt_poll clients_run(clients *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    CALL(crt_mpsc_new(sizeof(uint32_t), 1, &self->tx, &self->rx));
    AWAIT(crt_notified(cx, self->listening));
    for (self->i = 0; self->i < CLIENTS; self->i++) {
        self->twin = crt_mpsc_tx_clone(self->tx);
        CALL(crt_spawn_join(cx, &self->join[self->i], client_run,
            &(client){.address = self->address, .report = self->twin, .id = 1u << self->i}));
        self->twin = NULL;
    }
    crt_mpsc_tx_drop(&self->tx);
    for (;;) {
        CRT_AWAIT(self->r = crt_mpsc_recv(cx, self->rx, &self->id));
        if (self->r < 0) break;
        self->sum += self->id;
    }
    for (self->i = 0; self->i < CLIENTS; self->i++) {
        AWAIT(crt_join(cx, &self->join[self->i], &self->result));
        if (self->result < 0) CRT_RETURN(self->result);
    }
    CHECK_EQ(self->sum, (1u << CLIENTS) - 1);
    CRT_FINALLY
        crt_mpsc_tx_drop(&self->twin);
        crt_mpsc_tx_drop(&self->tx);
        crt_mpsc_rx_drop(&self->rx);
        for (int i = 0; i < CLIENTS; i++) crt_detach(&self->join[i]);
    CRT_END;
}

static intptr_t job(void *arg) { return *(int *)arg + 1; }
typedef struct nap {
    crt_frame co;
    crt_poll r;
} nap;
static crt_poll nap_run(void *frame, crt_cx *cx)
{
    nap *self = frame;
    CRT_BEGIN(self, cx);
    AWAIT(crt_sleep(cx, CRT_US(50)));
    CRT_RETURN(3);
    CRT_END;
}
static const crt_task_local extras_key = {"extras"};
// The rest: a job, a file, a token, a oneshot, a descriptor, a local set, groups, a delay, many tasks.
typedef struct extras {
    crt_frame co;
    crt_join_handle *join;
    crt_join_handle *many[80];
    crt_cancel_token *token, *child;
    crt_oneshot_tx *tx;
    crt_oneshot_rx *rx;
    crt_stream *a, *b;
    crt_local_set set;
    crt_join_set jobs, naps;
    crt_join_map map;
    crt_delay_queue queue;
    crt_delay delay, *due;
    uint64_t key;
    CRT_SELECT(2) sel;
    crt_timer timer;
    intptr_t result;
    crt_poll r;
    void *data;
    size_t n;
    int number, i;
    char c;
} extras;
enum { KEYS = 9 };   // one more than the first table of a map takes
static crt_poll extras_run(extras *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    self->number = 41;
    CALL(crt_spawn_blocking(cx, &self->join, job, &self->number));
    AWAIT(crt_join(cx, &self->join, &self->result));
    CHECK_EQ(self->result, 42);
    AWAIT(crt_fs_read_file(cx, A_FILE, &self->data, &self->n));
    CHECK(self->n > 0);
    while (!(self->token = crt_cancel_token_new()))
        if (!out_of_memory(CRT_ENOMEM)) CRT_RETURN(CRT_ENOMEM);
    while (!(self->child = crt_cancel_token_child(self->token)))
        if (!out_of_memory(CRT_ENOMEM)) CRT_RETURN(CRT_ENOMEM);
    CALL(crt_oneshot_new(sizeof(int), &self->tx, &self->rx));
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_US(10), crt_oneshot_recv(cx, &self->rx, &self->i)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(crt_oneshot_send(&self->tx, &self->number), 0);
    AWAIT(crt_oneshot_recv(cx, &self->rx, &self->i));
    CHECK_EQ(self->i, 41);
    crt_cancel_token_cancel(self->token);
    AWAIT(crt_cancelled(cx, self->child));
    CALL(crt_stream_pair(cx, &self->a, &self->b));
    CHECK_EQ(crt_try_write(self->b, "x", 1), 1);
    AWAIT(crt_fd_readable(cx, crt_stream_fd(self->a)));
    AWAIT(crt_read(cx, self->a, &self->c, 1));
    CALL(crt_local_set_spawn(cx, &self->set, nap_run, &(nap){.r = 0}));
    AWAIT(crt_local_set_join(cx, &self->set));
    // Groups, a delay, a value of the task.
    CALL(crt_join_set_spawn_blocking(cx, &self->jobs, job, &self->number));
    CALL(crt_join_set_spawn(cx, &self->naps, nap_run, &(nap){.r = 0}));
    for (self->i = 0; self->i < 2; self->i++) {
        AWAIT(crt_join_set_next(cx, self->i ? &self->naps : &self->jobs, &self->result));
        if (self->result < 0) CRT_RETURN(self->result);
        CHECK_EQ(self->result, self->i ? 3 : 42);
    }
    do CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, 0, crt_signal_recv(cx, SIGUSR2)));
    while (out_of_memory(self->r));
    if (self->r != CRT_ETIMEDOUT) CRT_RETURN(self->r);
    for (self->i = 0; self->i < KEYS; self->i++) {
        CALL(crt_join_map_spawn(cx, &self->map, (uint64_t)self->i, nap_run, &(nap){.r = 0}));
    }
    for (self->i = 0; self->i < KEYS; self->i++) {
        AWAIT(crt_join_map_next(cx, &self->map, &self->key, &self->result));
        if (self->result < 0) CRT_RETURN(self->result);
        CHECK(self->key < KEYS && self->result == 3);
    }
    CALL(crt_delay_insert(cx, &self->queue, &self->delay, CRT_US(50)));
    AWAIT(crt_delay_next(cx, &self->queue, &self->due));
    CHECK(self->due == &self->delay);
    CALL(crt_task_local_set(cx, &extras_key, self, NULL));
    CHECK(crt_task_local_get(cx, &extras_key) == self);
    for (self->i = 0; self->i < 80; self->i++) {   // more than a chunk holds
        CALL(crt_spawn_join(cx, &self->many[self->i], nap_run, &(nap){.r = 0}));
    }
    for (self->i = 0; self->i < 80; self->i++) {
        AWAIT(crt_join(cx, &self->many[self->i], &self->result));
        if (self->result < 0) CRT_RETURN(self->result);
        CHECK_EQ(self->result, 3);
    }
    CRT_RETURN(0);
    CRT_FINALLY
        CRT_AWAIT(crt_local_set_join(cx, &self->set));   // it lies in this frame
        if (self->data) CRT_FREE(self->data);
        crt_join_set_drop(&self->jobs);
        crt_join_set_drop(&self->naps);
        crt_join_map_drop(&self->map);
        crt_delay_queue_drop(&self->queue);
        crt_cancel_token_drop(&self->child);
        crt_cancel_token_drop(&self->token);
        crt_oneshot_tx_drop(&self->tx);
        crt_oneshot_rx_drop(&self->rx);
        crt_close(&self->a);
        crt_close(&self->b);
        crt_detach(&self->join);
        for (int i = 0; i < 80; i++) crt_detach(&self->many[i]);
    CRT_END;
}

typedef struct scene {
    crt_frame co;
    crt_notify listening;
    char address[64];
    server server;
    clients clients;
    extras extras;
    CRT_SELECT(3) all;
    crt_poll r;
} scene;
static crt_poll scene_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    self->server.listening = self->clients.listening = &self->listening;
    self->server.address = self->address;
    self->clients.address = self->address;
    CRT_AWAIT(self->r = crt_try_join(cx, &self->all,
        crt_on(cx, 0, server_run(&self->server, cx)),
        crt_on(cx, 1, clients_run(&self->clients, cx)),
        crt_on(cx, 2, extras_run(&self->extras, cx))));
    CRT_RETURN(self->r);
    CRT_END;
}

// One run. What crt_block_on said, or why there was no runtime.
static crt_poll play(const crt_config *c)
{
    crt_runtime *rt;
    scene *s = calloc(1, sizeof *s);
    crt_poll r;
    do r = crt_runtime_new(c, &rt);
    while (out_of_memory(r));
    if (r == 0) {
        do r = crt_block_on(rt, scene_run, s);
        while (out_of_memory(r));
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_SEC(10)), 0);   // no task and no job is left
        crt_runtime_drop(&rt);
    } else {
        CHECK(rt == NULL);
    }
    CHECK(s->co.resume == 0);   // ended, or never begun
    free(s);
    return r;
}
static const struct { const char *name; int flavor, workers; } kinds[] = {
    {"current_thread", CRT_CURRENT_THREAD, 1},
    {"1 worker", CRT_MULTI_THREAD, 1},
    {"4 workers", CRT_MULTI_THREAD, 4},
};
// After a failure no number of further failures says more.
static void sweep(bool try_again, bool for_good)
{
    for (int k = 0; k < 3; k++) {
        crt_config c = {.flavor = kinds[k].flavor, .worker_threads = kinds[k].workers,
                        .allocator = {hook_alloc, hook_free, &alloc_count}, .log = {.func = silent}};
        fault_begin(0, false, 0);
        again = try_again;
        alloc_fails_for_good = for_good;
        alloc_fail_at = 0;
        CHECK_EQ(play(&c), 0);   // also opens what the process keeps
        CHECK_EQ(alloc_live, 0);
        int fds = test_fd_count(), clean = 0;
        long n;
        for (n = 1; n < 2000 && !test__bad; n++) {
            alloc_count = 0;
            enomem_seen = 0;
            __atomic_store_n(&alloc_fail_at, n, __ATOMIC_SEQ_CST);
            test__set_alarm(test_patience(60));
            crt_poll r = play(&c);
            bool fired = alloc_count >= n;
            __atomic_store_n(&alloc_fail_at, 0, __ATOMIC_SEQ_CST);
            if (!fired || try_again) CHECK_EQ(r, 0);
            else if (r != 0) CHECK(enomem_seen > 0 && r < 0);   // somebody was told
            CHECK_EQ(alloc_live, 0);
            CHECK_EQ(test_fd_count(), fds);
            if (test__bad) fprintf(stderr, "  on %s, allocation %ld: %s\n", kinds[k].name, n, crt_err_name((int)r));
            // The number of allocations differs a little from run to run.
            clean = fired ? 0 : clean + 1;
            if (clean == 3) break;
        }
        CHECK(n < 2000);
        CHECK(n > 15);
    }
}
static void each_allocation_fails_once_and_the_program_gives_up(void) { sweep(false, false); }
static void each_allocation_fails_once_and_is_tried_again(void) { sweep(true, false); }
static void memory_runs_out_for_good(void) { sweep(false, true); }

// "The call returns CRT_ENOMEM and has changed nothing": the connection stays in the
// queue of the listener. Records come in a table of 64 at first; the 65th needs memory.
typedef struct full {
    crt_frame co;
    crt_listener *l, *l2;
    crt_stream *held[62], *s;
    crt_timer timer;
    crt_poll r;
    int i, n, plain;
    char c;
} full;
static crt_poll full_run(void *frame, crt_cx *cx)
{
    full *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l2));   // an even number, with l
    CHECK_EQ(self->r, 0);
    for (self->n = 0; self->n < 62; self->n += 2)
        CHECK_EQ(crt_stream_pair(cx, &self->held[self->n], &self->held[self->n + 1]), 0);
    CHECK(cx->rt->sock_count == 64 && !cx->rt->sock_free);
    {
        crt_addr a;
        crt_local_addr(self->l, &a);
        self->plain = socket(AF_INET, SOCK_STREAM | TEST_CLOEXEC, 0);
        CHECK_EQ(connect(self->plain, (struct sockaddr *)(void *)a.u.bytes, a.len), 0);
        CHECK_EQ(write(self->plain, "x", 1), 1);
    }
    alloc_fails_for_good = true;
    __atomic_store_n(&alloc_fail_at, 1, __ATOMIC_SEQ_CST);
    CRT_AWAIT(self->r = crt_accept(cx, self->l, &self->s, NULL));
    CHECK_EQ(self->r, CRT_ENOMEM);
    CHECK(self->s == NULL);
    // Nor is there any for the pause that waits for descriptors, when there is a record.
    crt_close(&self->held[0]);
    crt_close(&self->held[1]);
    fault_always(FAULT_ACCEPT, EMFILE);
    CRT_AWAIT(self->r = crt_accept(cx, self->l, &self->s, NULL));
    fault_always(FAULT_ACCEPT, 0);
    CHECK(self->r == CRT_ENOMEM && !self->s);
    __atomic_store_n(&alloc_fail_at, 0, __ATOMIC_SEQ_CST);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(1), crt_accept(cx, self->l, &self->s, NULL)));
    CHECK_EQ(self->r, 0);
    if (self->r == 0) {
        CRT_AWAIT(self->r = crt_read(cx, self->s, &self->c, 1));
        CHECK_EQ(self->r, 1);
    }
    CRT_FINALLY
        close(self->plain);
        crt_close(&self->l);
        crt_close(&self->l2);
        crt_close(&self->s);
        for (int i = 0; i < 62; i++) crt_close(&self->held[i]);
    CRT_END;
}
static void an_accept_without_memory_keeps_the_connection(crt_runtime *rt)
{
    full *f = calloc(1, sizeof *f);
    int fds = test_fd_count();
    CHECK_EQ(crt_block_on(rt, full_run, f), 0);
    CHECK_EQ(test_fd_count(), fds);
    free(f);
}

// ---- part two: system calls ------------------------------------------------------

enum { PEERS = 5, CHUNKS = 6, CHUNK = 700 };
static int peer_bytes_wrong, peers_done, peers_failed;   // atomic

static crt_poll lying_echo_run(void *frame, crt_cx *cx)
{
    echo *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = crt_read(cx, self->peer, self->buf, sizeof self->buf));
        if (self->r <= 0) break;
        CRT_AWAIT(self->r = crt_write_all(cx, self->peer, self->buf, (size_t)self->r));
        if (self->r < 0) break;
    }
    CRT_FINALLY
        crt_close(&self->peer);
    CRT_END;
}
typedef struct peer {
    crt_frame co;
    const char *address;
    crt_stream *s, *twin;
    crt_join_handle *writer;
    crt_timer timer;
    crt_poll r;
    uint32_t id;
    int tries;
    size_t done, k;
    intptr_t result;
    unsigned char buf[CHUNK];
} peer;
// Writes while the peer reads: both directions at once.
static crt_poll peer_write_run(void *frame, crt_cx *cx)
{
    peer *self = frame;
    CRT_BEGIN(self, cx);
    for (self->k = 0; self->k < CHUNKS; self->k++) {
        for (size_t i = 0; i < CHUNK; i++) self->buf[i] = pattern(self->id, self->k * CHUNK + i);
        CRT_AWAIT(self->r = crt_write_all(cx, self->s, self->buf, CHUNK));
        if (self->r < 0) CRT_RETURN(self->r);
    }
    CRT_RETURN(0);
    CRT_FINALLY
        if (self->s) CRT_AWAIT(crt_shutdown(cx, self->s));   // also after an error: the reader must hear of it
        crt_close(&self->s);
    CRT_END;
}
static crt_poll peer_run(void *frame, crt_cx *cx)
{
    peer *self = frame;
    CRT_BEGIN(self, cx);
    for (self->tries = 0; self->tries < 100; self->tries++) {
        CRT_AWAIT(self->r = crt_tcp_connect(cx, self->address, &self->s));
        if (self->r == 0) break;
        CHECK(fault.fatal);
        CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    }
    if (self->r < 0) CRT_RETURN(self->r);
    self->twin = crt_stream_clone(self->s);
    self->r = crt_spawn_join(cx, &self->writer, peer_write_run, &(peer){.s = self->twin, .id = self->id});
    if (self->r < 0) CRT_RETURN(self->r);
    self->twin = NULL;
    while (self->done < CHUNKS * CHUNK) {
        CRT_AWAIT(self->r = crt_read(cx, self->s, self->buf, sizeof self->buf));
        if (self->r <= 0) break;
        for (crt_poll i = 0; i < self->r; i++)
            if (self->buf[i] != pattern(self->id, self->done + (size_t)i))
                __atomic_fetch_add(&peer_bytes_wrong, 1, __ATOMIC_SEQ_CST);
        self->done += (size_t)self->r;
    }
    if (self->r == 0) self->r = CRT_EEOF;
    if (self->r < 0) CRT_RETURN(self->r);
    CRT_AWAIT(self->r = crt_read(cx, self->s, self->buf, 1));   // the end, and nothing else
    if (self->r > 0) __atomic_fetch_add(&peer_bytes_wrong, 1, __ATOMIC_SEQ_CST);
    if (self->r < 0) CRT_RETURN(self->r);
    CRT_AWAIT(self->r = crt_join(cx, &self->writer, &self->result));
    CRT_RETURN(self->result);
    CRT_FINALLY
        crt_close(&self->s);
        crt_close(&self->twin);
        if (self->writer) crt_abort(self->writer);
        crt_detach(&self->writer);
    CRT_END;
}
typedef struct lying {
    crt_frame co;
    crt_listener *l;
    crt_stream *peer;
    crt_cancel_token *stop;
    crt_join_handle *join[PEERS], *server;
    CRT_SELECT(2) sel;
    intptr_t result;
    crt_poll r, w;
    int i;
    char address[64];
} lying;
static crt_poll lying_server_run(void *frame, crt_cx *cx)
{
    lying *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->w = crt_select(cx, &self->sel,
            crt_on(cx, 0, self->r = crt_accept(cx, self->l, &self->peer, NULL)),
            crt_on(cx, 1, crt_cancelled(cx, self->stop))));
        if (self->w == 1) break;
        if (self->r < 0) {   // that connection is lost; the server goes on
            CHECK(fault.fatal);
            continue;
        }
        CHECK_EQ(crt_spawn(cx, lying_echo_run, &(echo){.peer = self->peer}), 0);
        self->peer = NULL;
    }
    CRT_FINALLY
        crt_close(&self->peer);
        crt_close(&self->l);
    CRT_END;
}
static bool clear_error(crt_poll r)
{
    return r == CRT_ECONNRESET || r == -EPIPE || r == CRT_EEOF || r == -EMFILE || r == -ENOBUFS || r == CRT_ENOMEM ||
           r == -ENOSPC;
}
static crt_poll lying_run(void *frame, crt_cx *cx)
{
    lying *self = frame;
    CRT_BEGIN(self, cx);
    self->stop = crt_cancel_token_new();
    do CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    while (self->r < 0 && fault.fatal);
    CHECK_EQ(self->r, 0);
    {
        crt_addr a;
        crt_local_addr(self->l, &a);
        crt_addr_format(&a, self->address, 64);
    }
    CHECK_EQ(crt_spawn_join(cx, &self->server, lying_server_run, &(lying){.l = self->l, .stop = self->stop}), 0);
    self->l = NULL;
    for (self->i = 0; self->i < PEERS; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], peer_run,
            &(peer){.address = self->address, .id = (uint32_t)self->i}), 0);
    for (self->i = 0; self->i < PEERS; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], &self->result));
        CHECK_EQ(self->r, 0);
        __atomic_fetch_add(self->result == 0 ? &peers_done : &peers_failed, 1, __ATOMIC_SEQ_CST);
        if (self->result && !(fault.fatal && clear_error(self->result))) CHECK_EQ(self->result, 0);
    }
    crt_cancel_token_cancel(self->stop);
    CRT_AWAIT(self->r = crt_join(cx, &self->server, &self->result));
    CRT_FINALLY
        crt_close(&self->l);
        crt_cancel_token_drop(&self->stop);
    CRT_END;
}
static void lie(uint32_t per_mille, bool fatal, uint32_t seeds)
{
    uint32_t injected[FAULT_KINDS] = {0};
    peers_done = peers_failed = 0;
    alloc_fail_at = 0;
    for (int k = 0; k < 3; k++) {
        for (uint32_t seed = 1; seed <= seeds && !test__bad; seed++) {
            crt_config c = {.flavor = kinds[k].flavor, .worker_threads = kinds[k].workers, .seed = seed,
                            .allocator = {hook_alloc, hook_free, &alloc_count}, .log = {.func = silent}};
            crt_runtime *rt;
            lying *l = calloc(1, sizeof *l);
            int fds = test_fd_count();
            peer_bytes_wrong = 0;
            test__set_alarm(test_patience(60));
            fault_begin(per_mille, fatal, seed + (uint32_t)k * 1000);
            CHECK_EQ(crt_runtime_new(&c, &rt), 0);
            CHECK_EQ(crt_block_on(rt, lying_run, l), 0);
            CHECK_EQ(crt_runtime_shutdown(rt, CRT_SEC(10)), 0);
            crt_runtime_drop(&rt);
            free(l);
            CHECK_EQ(peer_bytes_wrong, 0);
            CHECK_EQ(test_fd_count(), fds);
            CHECK_EQ(alloc_live, 0);
            for (int i = 0; i < FAULT_KINDS; i++) injected[i] += fault.injected[i];
            if (test__bad) fprintf(stderr, "  on %s, seed %u\n", kinds[k].name, seed);
        }
    }
    fault_begin(0, false, 0);
    if (test__bad) return;
    for (int i = 0; i < FAULT_KINDS; i++) CHECK(injected[i] > 0);   // each kind was tried
    if (fatal) CHECK(peers_failed > 0);
    CHECK(peers_done > 0);
    CHECK_EQ(peers_done + peers_failed, 3 * seeds * PEERS);
}
static void interruptions_and_short_transfers_lose_no_byte(void) { lie(150, false, 25); }
static void nearly_every_call_is_disturbed(void) { lie(600, false, 4); }
static void failing_calls_give_clear_errors(void) { lie(15, true, 40); }

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST(each_allocation_fails_once_and_the_program_gives_up);
    TEST(each_allocation_fails_once_and_is_tried_again);
    TEST(memory_runs_out_for_good);
    TEST_ON_EACH(an_accept_without_memory_keeps_the_connection);
    TEST(interruptions_and_short_transfers_lose_no_byte);
    TEST(nearly_every_call_is_disturbed);
    TEST(failing_calls_give_clear_errors);
    return test_end();
}
