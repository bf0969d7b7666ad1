// graceful_shutdown.c: Ctrl-C, a cancel token, a tracker.
//
// The three steps of a graceful end. Tell: Ctrl-C cancels a token that every part of
// the program can see. Finish: each part ends in its own way, here by flushing what it
// has counted. Wait: the tracker tells when the last of them has ended; a timeout
// limits how long that may take, and then what is left is cancelled by force.
//
//     ./graceful_shutdown [seconds]      stops by itself after that many (3)

#define CRT_IMPLEMENTATION
#include "../crt.h"

#include <stdlib.h>

enum { WORKERS = 3 };

typedef struct worker {
    crt_frame co;
    crt_cancel_token *stop;
    int id, done;
    CRT_SELECT(2) sel;
    crt_poll w;
} worker;

static crt_poll worker_run(void *frame, crt_cx *cx)
{
    worker *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->w = crt_select(cx, &self->sel,
            crt_on(cx, 0, crt_cancelled(cx, self->stop)),
            crt_on(cx, 1, crt_sleep(cx, CRT_MS(10 * (self->id + 1))))));
        if (self->w == 0) break;
        self->done++;   // one piece of work
    }
    CRT_AWAIT(crt_sleep(cx, CRT_MS(50)));   // flush, say goodbye, ...
    printf("worker %d: %d pieces of work, all of them saved\n", self->id, self->done);
    CRT_FINALLY
        crt_cancel_token_drop(&self->stop);
    CRT_END;
}

typedef struct program {
    crt_frame co;
    crt_cancel_token *stop;
    crt_task_tracker *tracker;
    crt_duration limit;
    CRT_SELECT(2) sel;
    crt_timer timer;
    int i;
    crt_poll w, r;
} program;

static crt_poll program_run(void *frame, crt_cx *cx)
{
    program *self = frame;
    char **argv;
    CRT_BEGIN(self, cx);
    self->limit = CRT_SEC(crt_args(&argv) > 1 ? atoi(argv[1]) : 3);
    // Heard from here on; a later call cannot fail.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, 0, crt_ctrl_c(cx)));
    if (self->r != CRT_ETIMEDOUT) CRT_RETURN(self->r);
    self->stop = crt_cancel_token_new();
    self->tracker = crt_task_tracker_new();
    if (!self->stop || !self->tracker) CRT_RETURN(CRT_ENOMEM);
    for (self->i = 0; self->i < WORKERS; self->i++) {
        crt_cancel_token *token = crt_cancel_token_child(self->stop);   // could be cancelled alone, too
        if (!token || crt_task_tracker_spawn(cx, self->tracker, worker_run, &(worker){.stop = token, .id = self->i}) < 0)
            crt_cancel_token_drop(&token);
    }
    puts("Ctrl-C to stop");
    CRT_AWAIT(self->w = crt_select(cx, &self->sel,
        crt_on(cx, 0, crt_ctrl_c(cx)),
        crt_on(cx, 1, crt_sleep(cx, self->limit))));
    printf("%s: stopping\n", self->w == 0 ? "Ctrl-C" : "time is up");
    crt_cancel_token_cancel(self->stop);
    crt_task_tracker_close(self->tracker);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(2), crt_task_tracker_wait(cx, self->tracker)));
    printf("%s\n", self->r == 0 ? "everybody is done" : "somebody took too long");
    CRT_RETURN(self->r == 0 ? 0 : 1);
    CRT_FINALLY
        crt_cancel_token_drop_guard(&self->stop);   // also if this task is cancelled itself
        crt_task_tracker_drop(&self->tracker);
    CRT_END;
}

CRT_MAIN(program_run, program)
