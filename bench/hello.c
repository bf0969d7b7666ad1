// The smallest server: says hello to whoever connects. Its object file, at -Os with CRT_STATIC, shows what crt adds
// to a program that uses little of it.
#ifndef FLAVOR
#define FLAVOR CRT_CURRENT_THREAD
#endif
#define CRT_IMPLEMENTATION
#include "../crt.h"

#include <string.h>

static const char hello[] = "hello\n";

typedef struct greeting {
    crt_frame co;
    crt_stream *peer;
} greeting;

static crt_poll greeting_run(void *frame, crt_cx *cx)
{
    greeting *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_write_all(cx, self->peer, hello, strlen(hello)));
    CRT_FINALLY
        crt_close(&self->peer);
    CRT_END;
}

typedef struct server {
    crt_frame co;
    crt_listener *listener;
    crt_stream *peer;
    crt_poll r;
} server;

static crt_poll server_run(void *frame, crt_cx *cx)
{
    server *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:7000", NULL, &self->listener));
    while (self->r >= 0) {
        CRT_AWAIT(self->r = crt_accept(cx, self->listener, &self->peer, NULL));
        if (self->r >= 0 && crt_spawn(cx, greeting_run, &(greeting){ .peer = self->peer }) < 0) crt_close(&self->peer);
    }
    CRT_FINALLY
        crt_close(&self->listener);
    CRT_END;
}

int main(void)
{
    crt_runtime *rt;
    server frame = { .r = 0 };
    if (crt_runtime_new(&(crt_config){ .flavor = FLAVOR }, &rt)) return 1;
    crt_poll r = crt_block_on(rt, server_run, &frame);
    crt_runtime_drop(&rt);
    return r < 0;
}
