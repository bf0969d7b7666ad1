// echo_throughput.c: an echo server with 1,000 connections, on both flavors.
// Requests per second, measured from inside.
//
//     ./echo_throughput [connections] [requests for each] [workers]
//
// Server and clients share the runtime and its threads, so the number is that of
// both sides together; a server alone does more. Each client has one request of
// 64 bytes on its way at a time. Loopback only.

#define CRT_IMPLEMENTATION
#include "../crt.h"

#include <stdlib.h>
#include <string.h>
#ifndef _WIN32
#include <sys/resource.h>
#endif

enum { MESSAGE = 64 };

// The server's side of a connection.
typedef struct echo {
    crt_frame co;
    crt_stream *peer;
    crt_poll n;
    char buf[MESSAGE];
} echo;

static crt_poll echo_run(void *frame, crt_cx *cx)
{
    echo *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->n = crt_read(cx, self->peer, self->buf, sizeof self->buf));
        if (self->n <= 0) break;
        CRT_AWAIT(self->n = crt_write_all(cx, self->peer, self->buf, (size_t)self->n));
        if (self->n < 0) break;
    }
    CRT_FINALLY
        crt_close(&self->peer);
    CRT_END;
}

typedef struct acceptor {
    crt_frame co;
    crt_listener *listener;
    crt_stream *peer;
    crt_poll n;
} acceptor;

static crt_poll acceptor_run(void *frame, crt_cx *cx)
{
    acceptor *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->n = crt_accept(cx, self->listener, &self->peer, NULL));
        if (self->n < 0) CRT_RETURN(self->n);
        self->n = crt_spawn(cx, echo_run, &(echo){.peer = self->peer});
        if (self->n < 0) CRT_RETURN(self->n);
        self->peer = NULL;   // the task has it now
    }
    CRT_FINALLY
        crt_close(&self->peer);
        crt_close(&self->listener);
    CRT_END;
}

// What all clients share. They connect, say `ready`, and wait for `go`, so that
// the clock does not see the connecting.
typedef struct contest {
    char address[64];
    long requests;   // of each client
    crt_semaphore ready, go;
} contest;

typedef struct client {
    crt_frame co;
    contest *contest;
    crt_stream *server;
    long i;
    crt_poll n;
    char buf[MESSAGE];
} client;

static crt_poll client_run(void *frame, crt_cx *cx)
{
    client *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->n = crt_tcp_connect(cx, self->contest->address, &self->server));
    crt_semaphore_release(&self->contest->ready, 1);
    if (self->n < 0) CRT_RETURN(self->n);
    CRT_AWAIT(crt_semaphore_acquire(cx, &self->contest->go, 1));
    for (self->i = 0; self->i < self->contest->requests; self->i++) {
        CRT_AWAIT(self->n = crt_write_all(cx, self->server, self->buf, MESSAGE));
        if (self->n < 0) CRT_RETURN(self->n);
        CRT_AWAIT(self->n = crt_read_exact(cx, self->server, self->buf, MESSAGE));
        if (self->n < 0) CRT_RETURN(self->n);
    }
    CRT_RETURN(0);
    CRT_FINALLY
        crt_close(&self->server);
    CRT_END;
}

typedef struct driver {
    crt_frame co;
    contest contest;
    size_t connections, spawned, joined, failed;
    crt_listener *listener;
    crt_join_handle *acceptor, **clients;
    crt_instant begin;
    crt_duration took;
    intptr_t result;
    crt_poll n;
} driver;

static crt_poll driver_run(void *frame, crt_cx *cx)
{
    driver *self = frame;
    CRT_BEGIN(self, cx);
    self->clients = calloc(self->connections, sizeof *self->clients);
    if (!self->clients) CRT_RETURN(CRT_ENOMEM);
    crt_semaphore_init(&self->contest.ready, 0);
    crt_semaphore_init(&self->contest.go, 0);
    CRT_AWAIT(self->n = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->listener));
    if (self->n < 0) CRT_RETURN(self->n);
    {
        crt_addr address;
        crt_local_addr(self->listener, &address);
        crt_addr_format(&address, self->contest.address, sizeof self->contest.address);
    }
    self->n = crt_spawn_join(cx, &self->acceptor, acceptor_run,
                             &(acceptor){.listener = self->listener});
    if (self->n < 0) CRT_RETURN(self->n);
    self->listener = NULL;

    for (; self->spawned < self->connections; self->spawned++) {
        self->n = crt_spawn_join(cx, &self->clients[self->spawned], client_run,
                                 &(client){.contest = &self->contest});
        if (self->n < 0) CRT_RETURN(self->n);
    }
    CRT_AWAIT(crt_semaphore_acquire(cx, &self->contest.ready, self->connections));
    self->begin = crt_now(cx);
    crt_semaphore_release(&self->contest.go, self->connections);
    for (; self->joined < self->connections; self->joined++) {
        CRT_AWAIT(self->n = crt_join(cx, &self->clients[self->joined], &self->result));
        if (self->n < 0 || self->result < 0) self->failed++;
    }
    self->took = crt_now(cx) - self->begin;
    CRT_FINALLY
        // The clients point into this frame: none may outlive it.
        for (self->joined = 0; self->joined < self->spawned; self->joined++) {
            if (!self->clients[self->joined]) continue;
            crt_abort(self->clients[self->joined]);
            CRT_AWAIT(crt_join(cx, &self->clients[self->joined], NULL));
            crt_detach(&self->clients[self->joined]);   // what a panic would leave
        }
        if (self->acceptor) {
            crt_abort(self->acceptor);
            CRT_AWAIT(crt_join(cx, &self->acceptor, NULL));
        }
        crt_close(&self->listener);
        free(self->clients);
        self->clients = NULL;
    CRT_END;
}

static double measure(const char *name, crt_config config, size_t connections, long requests)
{
    crt_runtime *rt;
    int e = crt_runtime_new(&config, &rt);
    if (e < 0) {
        fprintf(stderr, "runtime: %s\n", crt_strerror(e));
        return 0;
    }
    driver frame = {.connections = connections, .contest = {.requests = requests}};
    double rate = 0;
    e = (int)crt_block_on(rt, driver_run, &frame);
    if (e < 0) {
        fprintf(stderr, "%s: %s\n", name, crt_strerror(e));
    } else {
        const double seconds = (double)frame.took / 1e9;
        const double done = (double)(connections - frame.failed) * (double)requests;
        rate = done / seconds;
        printf("%-15s %d worker%s %zu connections, %.0f requests in %.2f s: %.0f requests/s",
               name, crt_runtime_config(rt)->worker_threads,
               crt_runtime_config(rt)->worker_threads == 1 ? ": " : "s:", connections, done,
               seconds, rate);
        if (frame.failed) printf(", %zu connections FAILED", frame.failed);
        printf("\n");
    }
    crt_runtime_drop(&rt);
    return rate;
}

int main(int argc, char **argv)
{
    const long connections = argc > 1 ? strtol(argv[1], NULL, 10) : 1000;
    const long requests = argc > 2 ? strtol(argv[2], NULL, 10) : 200;
    const long workers = argc > 3 ? strtol(argv[3], NULL, 10) : 4;
    if (connections < 1 || connections > 100000 || requests < 1 || workers < 1 || workers > 1024) {
        fprintf(stderr, "usage: echo_throughput [connections] [requests] [workers]\n");
        return 2;
    }
#ifndef _WIN32
    // Both ends of each connection are in this process: two descriptors each.
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        if (limit.rlim_cur < (rlim_t)connections * 2 + 32) {
            fprintf(stderr, "the limit on open files (%llu) is too low for that many\n",
                    (unsigned long long)limit.rlim_cur);
            return 1;
        }
    }
#endif
    const double one = measure("current_thread", (crt_config){.flavor = CRT_CURRENT_THREAD},
                               (size_t)connections, requests);
    const double many = measure("multi_thread", (crt_config){.worker_threads = (int)workers},
                                (size_t)connections, requests);
    if (one <= 0 || many <= 0) return 1;
    printf("multi_thread is %.2f times as fast\n", many / one);
    return 0;
}
