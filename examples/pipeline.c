// A pipeline of child processes: printf ... | sort | uniq -c | sort -rn, put together by
// hand. Each child's stdout becomes the next one's stdin without a byte passing through this
// program; it writes to the first and reads from the last, both at once, and looks at how
// every child ended. Then a command that would run too long, and one that says too much.
//
//   cc -std=c11 -O2 -pthread -o pipeline pipeline.c && ./pipeline
#define CRT_IMPLEMENTATION
#include "../crt.h"

#include <stdlib.h>
#include <string.h>

static const char words[] =
    "task\nwaker\ntask\npoll\ntask\npoll\nslot\ntask\nwaker\npoll\nleaf\ntask\nslot\npoll\nwaker\n";

enum { STAGES = 3 };
static const char *const *const commands[STAGES] = {
    (const char *const[]){"sort", NULL},
    (const char *const[]){"uniq", "-c", NULL},
    (const char *const[]){"sort", "-rn", NULL},
};

typedef struct pipeline {
    crt_frame co;
    crt_process *stage[STAGES];
    crt_stream *in, *between, *out;
    crt_exit_status status;
    crt_output command;
    crt_timer timer;
    CRT_SELECT(2) both;
    char text[1024];
    size_t length;
    int i, failed;
    crt_poll r, written, got;
} pipeline;

// One end of the pipeline feeds while the other is read: neither may wait for the other,
// or both would, once the pipes are full.
static crt_poll feed_run(pipeline *self, crt_cx *cx)
{
    crt_poll r = crt_write_all(cx, self->in, words, sizeof words - 1);
    if (r != CRT_PENDING) crt_close(&self->in);   // sort waits for the end
    return r;
}
static crt_poll collect_run(pipeline *self, crt_cx *cx)
{
    for (;;) {
        crt_poll r = crt_read(cx, self->out, self->text + self->length, sizeof self->text - 1 - self->length);
        if (r <= 0) return r;
        self->length += (size_t)r;
    }
}

static crt_poll pipeline_run(void *frame, crt_cx *cx)
{
    pipeline *self = frame;
    CRT_BEGIN(self, cx);

    // 1. The stages, each with the output of the one before as its input.
    for (self->i = 0; self->i < STAGES; self->i++) {
        CRT_AWAIT(self->r = crt_process_spawn(cx, &(crt_process_desc){
            .argv = commands[self->i],
            .env = (const char *const[]){"LC_ALL=C", NULL},
            .in = self->i == 0 ? (crt_stdio){ .kind = CRT_STDIO_PIPE }
                               : (crt_stdio){ .kind = CRT_STDIO_STREAM, .stream = &self->between },
            .out = { .kind = CRT_STDIO_PIPE },
            .kill_on_drop = true,
        }, &self->stage[self->i]));
        if (self->r < 0) CRT_RETURN(self->r);
        self->between = crt_process_take_stdout(self->stage[self->i]);
    }
    self->in = crt_process_take_stdin(self->stage[0]);
    self->out = self->between;
    self->between = NULL;
    CRT_AWAIT(self->r = crt_try_join(cx, &self->both,
        crt_on(cx, 0, self->written = feed_run(self, cx)),
        crt_on(cx, 1, self->got = collect_run(self, cx))));
    if (self->r < 0) CRT_RETURN(self->r);
    printf("sort | uniq -c | sort -rn:\n%s", self->text);
    for (self->i = 0; self->i < STAGES; self->i++) {
        CRT_AWAIT(self->r = crt_process_wait(cx, self->stage[self->i], &self->status));
        if (self->r < 0) CRT_RETURN(self->r);
        printf("%s ended with %d\n", commands[self->i][0], self->status.code);
        self->failed += !crt_exit_ok(&self->status);
        crt_close(&self->stage[self->i]);
    }

    // 2. All at once: input, output, errors, status.
    self->command.input = "to be shouted\n";
    self->command.input_n = strlen(self->command.input);
    CRT_AWAIT(self->r = crt_process_output(cx, &(crt_process_desc){
        .argv = (const char *const[]){"sh", "-c", "tr a-z A-Z; echo done >&2; exit 3", NULL} }, &self->command));
    if (self->r < 0) CRT_RETURN(self->r);
    printf("tr says: %ssh says: %sand ended with %d\n", (char *)self->command.out, (char *)self->command.err,
           self->command.status.code);
    self->failed += self->command.status.code != 3;
    crt_output_free(&self->command);
    self->command.input = NULL;

    // 3. A time limit: the child is killed and reaped before the timeout returns.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(100), crt_process_output(cx, &(crt_process_desc){
        .argv = (const char *const[]){"sleep", "1000", NULL} }, &self->command)));
    printf("sleep 1000: %s\n", crt_err_name((int)self->r));
    self->failed += self->r != CRT_ETIMEDOUT;
    crt_output_free(&self->command);

    // 4. A limit of bytes.
    self->command.max_out = 10;
    CRT_AWAIT(self->r = crt_process_output(cx, &(crt_process_desc){
        .argv = (const char *const[]){"sh", "-c", "while echo more; do :; done", NULL} }, &self->command));
    printf("one that never ends: %s, after %d bytes\n", crt_strerror((int)self->r), (int)self->command.out_n);
    self->failed += self->r != -EFBIG;

    // 5. What cannot be started is an error of the spawn, not an exit status.
    CRT_AWAIT(self->r = crt_process_spawn(cx, &(crt_process_desc){
        .argv = (const char *const[]){"no-such-program", NULL} }, &self->stage[0]));
    printf("no-such-program: %s\n", crt_strerror((int)self->r));
    self->failed += self->r != -ENOENT;
    CRT_RETURN(self->failed);

    CRT_FINALLY
        for (int i = 0; i < STAGES; i++) crt_close(&self->stage[i]);
        crt_close(&self->in);
        crt_close(&self->between);
        crt_close(&self->out);
        crt_output_free(&self->command);
    CRT_END;
}

CRT_MAIN(pipeline_run, pipeline)
