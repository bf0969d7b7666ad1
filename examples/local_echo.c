// local_echo.c: an echo server on the current-thread flavor, with its clients
// inside the same program, that shows that one thread does everything.
//
// Tasks are spawned with crt_spawn_local: they never leave the thread, so they
// may share plain variables. `total` below is no atomic and has no lock.

#define CRT_IMPLEMENTATION
#include "../crt.h"

#include <pthread.h>
#include <string.h>

enum { CLIENTS = 50, ROUND_TRIPS = 200 };

static struct {
    long requests, polls_elsewhere, threads_started;
    pthread_t main_thread;
} total;

static void seen_here(void)
{
    if (!pthread_equal(pthread_self(), total.main_thread)) total.polls_elsewhere++;
}

static void thread_started(void *hook_data)
{
    (void)hook_data;
    total.threads_started++;
}

// One connection of the server.
typedef struct echo {
    crt_frame co;
    crt_stream *peer;
    crt_poll n;
    char buf[256];
} echo;

static crt_poll echo_run(void *frame, crt_cx *cx)
{
    echo *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->n = crt_read(cx, self->peer, self->buf, sizeof self->buf));
        if (self->n <= 0) CRT_RETURN(self->n);
        seen_here();
        CRT_AWAIT(self->n = crt_write_all(cx, self->peer, self->buf, (size_t)self->n));
        if (self->n < 0) CRT_RETURN(self->n);
    }
    CRT_FINALLY
        crt_close(&self->peer);
    CRT_END;
}

// Accepts until it is cancelled.
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
        self->n = crt_spawn_local(cx, echo_run, &(echo){.peer = self->peer});
        if (self->n < 0) CRT_RETURN(self->n);
        self->peer = NULL;   // the task has it now
    }
    CRT_FINALLY
        crt_close(&self->peer);
        crt_close(&self->listener);
    CRT_END;
}

// One client: sends, waits for the echo, compares.
typedef struct client {
    crt_frame co;
    char address[64];
    crt_stream *server;
    int i;
    crt_poll n;
    char sent[32], got[32];
} client;

static crt_poll client_run(void *frame, crt_cx *cx)
{
    client *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->n = crt_tcp_connect(cx, self->address, &self->server));
    if (self->n < 0) CRT_RETURN(self->n);
    for (self->i = 0; self->i < ROUND_TRIPS; self->i++) {
        memset(self->sent, 'a' + self->i % 26, sizeof self->sent);
        CRT_AWAIT(self->n = crt_write_all(cx, self->server, self->sent, sizeof self->sent));
        if (self->n < 0) CRT_RETURN(self->n);
        CRT_AWAIT(self->n = crt_read_exact(cx, self->server, self->got, sizeof self->got));
        if (self->n < 0) CRT_RETURN(self->n);
        if (memcmp(self->sent, self->got, sizeof self->got) != 0)
            CRT_PANIC(cx, "the echo is different in round trip %d", self->i);
        seen_here();
        total.requests++;
    }
    CRT_FINALLY
        crt_close(&self->server);
    CRT_END;
}

typedef struct demo {
    crt_frame co;
    crt_listener *listener;
    char address[64];
    crt_join_handle *server, *clients[CLIENTS];
    int i, failed;
    crt_poll n;
} demo;

static crt_poll demo_run(void *frame, crt_cx *cx)
{
    demo *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->n = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->listener));
    if (self->n < 0) CRT_RETURN(self->n);
    {
        crt_addr address;
        crt_local_addr(self->listener, &address);
        crt_addr_format(&address, self->address, sizeof self->address);
    }
    self->n = crt_spawn_local_join(cx, &self->server, acceptor_run,
                                   &(acceptor){.listener = self->listener});
    if (self->n < 0) CRT_RETURN(self->n);
    self->listener = NULL;   // the acceptor has it now

    for (int i = 0; i < CLIENTS; i++) {
        client c = {0};
        memcpy(c.address, self->address, sizeof c.address);
        self->n = crt_spawn_local_join(cx, &self->clients[i], client_run, &c);
        if (self->n < 0) CRT_RETURN(self->n);
    }
    for (self->i = 0; self->i < CLIENTS; self->i++) {
        CRT_AWAIT(self->n = crt_join(cx, &self->clients[self->i], NULL));
        if (self->n < 0) self->failed++;
    }
    crt_abort(self->server);   // its CRT_FINALLY closes the listener
    CRT_AWAIT(self->n = crt_join(cx, &self->server, NULL));
    printf("the acceptor ended with %s\n", crt_err_name((int)self->n));
    CRT_RETURN(self->failed ? CRT_EPANIC : 0);
    CRT_FINALLY
        crt_close(&self->listener);
        crt_detach(&self->server);
        for (int i = 0; i < CLIENTS; i++) crt_detach(&self->clients[i]);
    CRT_END;
}

int main(void)
{
    crt_config config = {.flavor = CRT_CURRENT_THREAD, .on_thread_start = thread_started};
    crt_runtime *rt;
    int e = crt_runtime_new(&config, &rt);
    if (e < 0) {
        fprintf(stderr, "runtime: %s\n", crt_strerror(e));
        return 1;
    }
    total.main_thread = pthread_self();
    static demo frame;
    e = (int)crt_block_on(rt, demo_run, &frame);
    crt_runtime_drop(&rt);
    if (e < 0) {
        fprintf(stderr, "%s\n", crt_strerror(e));
        return 1;
    }
    printf("%ld requests of %d clients\n", total.requests, CLIENTS);
    printf("polls on another thread than main: %ld\n", total.polls_elsewhere);
    printf("threads started by the runtime: %ld\n", total.threads_started);
    return total.requests != (long)CLIENTS * ROUND_TRIPS || total.polls_elsewhere != 0;
}
