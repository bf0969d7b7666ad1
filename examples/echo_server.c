// echo_server.c: sends back what it gets, until Ctrl-C.
//
//     ./echo_server [current_thread|multi_thread] [port] [workers]
//
// One task accepts, one task serves each connection.

#define CRT_IMPLEMENTATION
#include "../crt.h"

#include <stdlib.h>
#include <string.h>

// One connection.
typedef struct echo {
    crt_frame co;
    crt_stream *peer;
    crt_poll n;
    char buf[1024];
} echo;

static crt_poll echo_run(void *frame, crt_cx *cx)
{
    echo *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->n = crt_read(cx, self->peer, self->buf, sizeof self->buf));
        if (self->n <= 0) break;   // the end, or a peer that went away: no news
        CRT_AWAIT(self->n = crt_write_all(cx, self->peer, self->buf, (size_t)self->n));
        if (self->n < 0) break;
    }
    CRT_FINALLY   // also when the server stops: the shutdown cancels every task
        crt_close(&self->peer);
    CRT_END;
}

// The server.
typedef struct server {
    crt_frame co;
    char address[32];
    crt_listener *listener;
    crt_stream *peer;
    CRT_SELECT(2) sel;
    crt_timer timer;
    crt_poll n, which;
} server;

static crt_poll server_run(void *frame, crt_cx *cx)
{
    server *self = frame;
    CRT_BEGIN(self, cx);
    // The first call for a signal makes it heard, and is the only one that can fail.
    CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, 0, crt_ctrl_c(cx)));
    if (self->n != CRT_ETIMEDOUT) {
        fprintf(stderr, "signals: %s\n", crt_strerror((int)self->n));
        CRT_RETURN(self->n);
    }
    CRT_AWAIT(self->n = crt_tcp_listen(cx, self->address, NULL, &self->listener));
    if (self->n < 0) {
        fprintf(stderr, "%s: %s\n", self->address, crt_strerror((int)self->n));
        CRT_RETURN(self->n);
    }
    {
        char text[64] = "?";
        crt_addr address;
        if (crt_local_addr(self->listener, &address) == 0)
            crt_addr_format(&address, text, sizeof text);
        printf("echo on %s, Ctrl-C to stop\n", text);
    }
    for (;;) {
        CRT_AWAIT(self->which = crt_select(cx, &self->sel,
            crt_on(cx, 0, self->n = crt_accept(cx, self->listener, &self->peer, NULL)),
            crt_on(cx, 1, crt_ctrl_c(cx))));
        if (self->which != 0) break;
        if (self->n < 0) {
            fprintf(stderr, "accept: %s\n", crt_strerror((int)self->n));
            continue;
        }
        // The frame is copied, so from here on the task owns the stream.
        if (crt_spawn(cx, echo_run, &(echo){.peer = self->peer}) == 0)
            self->peer = NULL;
        else
            crt_close(&self->peer);   // no memory for one more: drop this one only
    }
    printf("stopping\n");
    CRT_FINALLY
        crt_close(&self->peer);
        crt_close(&self->listener);
    CRT_END;
}

// The number that is all of the text, from 0 to max; -1: it is no such number.
static long number(const char *text, long max)
{
    char *end;
    const long n = strtol(text, &end, 10);
    return *text && !*end && n >= 0 && n <= max ? n : -1;
}

static int usage(void)
{
    fprintf(stderr, "usage: echo_server [current_thread|multi_thread] [port] [workers]\n");
    return 2;
}

int main(int argc, char **argv)
{
    const char *flavor = argc > 1 ? argv[1] : "multi_thread";
    const long port = argc > 2 ? number(argv[2], 65535) : 7000;
    const long workers = argc > 3 ? number(argv[3], 1024) : 0;   // 0: one for each CPU
    if (argc > 4 || port < 0 || workers < 0) return usage();

    crt_config config = {0};
    if (strcmp(flavor, "current_thread") == 0)
        config.flavor = CRT_CURRENT_THREAD;
    else if (strcmp(flavor, "multi_thread") == 0)
        config.worker_threads = (int)workers;
    else
        return usage();

    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);   // a line at a time, into a pipe too
    crt_runtime *rt;
    int e = crt_runtime_new(&config, &rt);
    if (e < 0) {
        fprintf(stderr, "runtime: %s\n", crt_strerror(e));
        return 1;
    }
    server frame = {0};
    snprintf(frame.address, sizeof frame.address, "127.0.0.1:%ld", port);
    e = (int)crt_block_on(rt, server_run, &frame);
    int left = crt_runtime_shutdown(rt, CRT_MS(500));
    if (left > 0) fprintf(stderr, "%d tasks did not end in time\n", left);
    crt_runtime_drop(&rt);
    return e < 0;
}
