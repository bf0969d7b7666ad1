// select_timeout.c: what happens to the arm that loses?
//
// It is cancelled before crt_select or crt_timeout returns. Part 1 shows that a
// child coroutine runs its CRT_FINALLY to the end, awaits included. Parts 2 and 3
// are the lesson of cancellation safety: what a cancelled operation had in its
// hands is lost, unless it is kept where the cancellation does not reach.

#define CRT_IMPLEMENTATION
#include "../crt.h"

#include <string.h>

// ---- Part 1: asynchronous cleanup ---------------------------------------------

// Talks to a peer for ever. Cancelled, it says goodbye, which takes an await.
typedef struct talker {
    crt_frame co;
    crt_stream *peer;
    crt_poll n;
} talker;

static crt_poll talker_run(void *frame, crt_cx *cx)
{
    talker *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->n = crt_write_all(cx, self->peer, "tick ", 5));
        if (self->n < 0) CRT_RETURN(self->n);
        CRT_AWAIT(crt_sleep(cx, CRT_MS(20)));
    }
    CRT_FINALLY
        CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));   // a flush that takes its time, say
        CRT_AWAIT(self->n = crt_write_all(cx, self->peer, "goodbye", 7));
        CRT_AWAIT(self->n = crt_shutdown(cx, self->peer));
    CRT_END;
}

typedef struct cleanup {
    crt_frame co;
    crt_stream *here, *there;
    talker talker;
    CRT_SELECT(2) sel;
    crt_poll which, n;
    size_t got;
    char text[128];
} cleanup;

static crt_poll cleanup_run(void *frame, crt_cx *cx)
{
    cleanup *self = frame;
    CRT_BEGIN(self, cx);
    self->n = crt_stream_pair(cx, &self->here, &self->there);
    if (self->n < 0) CRT_RETURN(self->n);
    self->talker.peer = self->here;
    CRT_AWAIT(self->which = crt_select(cx, &self->sel,
        crt_on(cx, 0, talker_run(&self->talker, cx)),
        crt_on(cx, 1, crt_sleep(cx, CRT_MS(50)))));
    printf("  arm %d won: %s\n", (int)self->which, self->which == 1 ? "the sleep" : "the talker");
    // The talker has ended completely, so its last words are on the wire.
    do {
        CRT_AWAIT(self->n = crt_read(cx, self->there, self->text + self->got,
                                     sizeof self->text - 1 - self->got));
        if (self->n > 0) self->got += (size_t)self->n;
    } while (self->n > 0);
    printf("  the peer heard: \"%s\"\n", self->text);
    CRT_RETURN(self->n);
    CRT_FINALLY
        crt_close(&self->here);
        crt_close(&self->there);
    CRT_END;
}

// ---- Parts 2 and 3: a message that comes in two halves ---------------------------

// Sends "HELLO, WO" and, a little later, "RLD!...": 16 bytes, one message.
typedef struct sender {
    crt_frame co;
    crt_stream *peer;
    crt_poll n;
} sender;

static crt_poll sender_run(void *frame, crt_cx *cx)
{
    sender *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->n = crt_write_all(cx, self->peer, "HELLO, WO", 9));
    if (self->n < 0) CRT_RETURN(self->n);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(60)));
    CRT_AWAIT(self->n = crt_write_all(cx, self->peer, "RLD!...", 7));
    if (self->n < 0) CRT_RETURN(self->n);
    CRT_FINALLY
        crt_close(&self->peer);   // the reader sees the end of the stream
    CRT_END;
}

enum { MESSAGE = 16 };

typedef struct reader {
    crt_frame co;
    bool safe;
    crt_stream *here, *there;
    crt_join_handle *sender;
    crt_timer timer;
    crt_poll n;
    size_t got;
    char message[MESSAGE];
} reader;

// Wants a whole message, and every 25 ms wants to do something else in between.
static crt_poll reader_run(void *frame, crt_cx *cx)
{
    reader *self = frame;
    CRT_BEGIN(self, cx);
    self->n = crt_stream_pair(cx, &self->here, &self->there);
    if (self->n < 0) CRT_RETURN(self->n);
    self->n = crt_spawn_join(cx, &self->sender, sender_run, &(sender){.peer = self->there});
    if (self->n < 0) CRT_RETURN(self->n);
    self->there = NULL;   // the sender has it now

    while (self->got < MESSAGE) {
        if (!self->safe) {
            // WRONG in a loop: crt_read_exact is not cancel-safe. When the timer
            // wins, the nine bytes it had read so far are gone with it.
            CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, CRT_MS(25),
                crt_read_exact(cx, self->here, self->message, MESSAGE)));
        } else {
            // RIGHT: crt_read either gives bytes or takes none, and how far we
            // are is kept in this frame, which the timeout does not cancel.
            CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, CRT_MS(25),
                crt_read(cx, self->here, self->message + self->got, MESSAGE - self->got)));
        }
        if (self->n > 0) {
            self->got += (size_t)self->n;
        } else if (self->n == CRT_ETIMEDOUT) {
            printf("  25 ms have passed; doing something else\n");
        } else {
            break;   // the end of the stream, in one way or the other
        }
    }
    if (self->got == MESSAGE)
        printf("  received all of it: \"%.*s\"\n", MESSAGE, self->message);
    else
        printf("  failed with %s: bytes were lost\n",
               self->n == 0 ? "the end of the stream" : crt_err_name((int)self->n));
    CRT_RETURN(self->got == MESSAGE);
    CRT_FINALLY
        crt_close(&self->here);
        crt_close(&self->there);
        if (self->sender) CRT_AWAIT(crt_join(cx, &self->sender, NULL));
    CRT_END;
}

// ---- All of it ------------------------------------------------------------------

typedef struct demo {
    crt_frame co;
    cleanup cleanup;
    reader unsafe, safe;
    crt_poll n, complete;
} demo;

static crt_poll demo_run(void *frame, crt_cx *cx)
{
    demo *self = frame;
    CRT_BEGIN(self, cx);
    printf("1. the loser of a select runs its CRT_FINALLY to the end\n");
    CRT_AWAIT(self->n = cleanup_run(&self->cleanup, cx));
    if (self->n < 0) CRT_RETURN(self->n);
    printf("2. crt_read_exact in a timeout: not cancel-safe\n");
    CRT_AWAIT(self->n = reader_run(&self->unsafe, cx));
    if (self->n < 0) CRT_RETURN(self->n);
    printf("3. crt_read in a timeout, progress kept in the frame: safe\n");
    self->safe.safe = true;
    CRT_AWAIT(self->complete = reader_run(&self->safe, cx));
    CRT_RETURN(self->complete == 1 ? 0 : 1);
    CRT_END;
}

CRT_MAIN(demo_run, demo)
