// hello.c: the smallest program. One task, one await.
//
//     cc -std=c11 -O2 -pthread -o hello hello.c && ./hello

#define CRT_IMPLEMENTATION
#include "../crt.h"

// The frame: what must survive an await lives here. This task keeps nothing but
// its resume point, which is always the first member.
typedef struct hello {
    crt_frame co;
} hello;

static crt_poll hello_run(void *frame, crt_cx *cx)
{
    hello *self = frame;
    CRT_BEGIN(self, cx);
    printf("hello, ");
    fflush(stdout);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(100)));   // the thread is free meanwhile
    printf("world\n");
    CRT_END;
}

CRT_MAIN(hello_run, hello)
