// model_files.c - what is handed on under a lock between tasks and jobs: the turn of a file, the gate of lookups.
//
// Promise: reads at the position of a file come one at a time, and bytes that were read for nobody are read again, in
// order, none lost and none twice; who waits for the turn of a call that was given up gets it; no more lookups run at
// a time than may, each that ends lets in the next, whoever gives up meanwhile; all memory is freed, once.
// A file is its position: the byte there is its number. A name is never found.
#include <netdb.h>
#include <unistd.h>

static ssize_t model_read(void *buf, size_t n);
static off_t model_lseek(off_t by);
static int model_getaddrinfo(void);
#define read(fd, buf, n) model_read((buf), (n))
#define lseek(fd, by, whence) model_lseek(by)
#define getaddrinfo(host, port, hints, out) model_getaddrinfo()
#include "model_platform.h"

static uint32_t position;   // atomic
static uint32_t inside;     // atomic: lookups that run
static int next_byte, gave_up, done, unwinds, most_inside, closed_calls;
static crt_file *file;
static crt_join_handle *handle[2];

static ssize_t model_read(void *buf, size_t n)
{
    (void)n;   // short, always
    *(char *)buf = (char)crt__atomic_add(&position, 1, ACQ_REL);
    return 1;
}
static off_t model_lseek(off_t by) { return (off_t)crt__atomic_add(&position, (uint32_t)by, ACQ_REL) + by; }
static int model_getaddrinfo(void)
{
    int n = 1 + (int)crt__atomic_add(&inside, 1, ACQ_REL);
    most_inside = crt__max(most_inside, n);
    crt__atomic_sub(&inside, 1, ACQ_REL);
    return EAI_NONAME;
}
static void kernel_closed(crt__fd fd)
{
    (void)fd;
    closed_calls++;
}
static void setup(int threads)
{
    model_runtime(1);
    rt.config.max_blocking_threads = threads;
    rt.config.max_lookups = 1;
    rt.config.thread_keep_alive = CRT_SEC(10);
    reactor.closed = kernel_closed;
    model_reactor = &reactor;
    position = inside = 0;
    next_byte = gave_up = done = unwinds = most_inside = closed_calls = 0;
    file = NULL;
    handle[0] = handle[1] = NULL;
}
static void abort_first(void *arg)
{
    (void)arg;
    crt_abort(handle[0]);
    crt_detach(&handle[0]);
}

// --- a file

static void open_file(bool seekable)
{
    file = ex_calloc(1, sizeof *file);
    file->refs = 1;
    file->fd = 3;
    file->seekable = seekable;
}
typedef struct read_frame {
    crt_file *f;
    int times;
    char byte;
} read_frame;
static crt_poll read_run(void *frame, crt_cx *cx)
{
    read_frame *self = frame;
    while (self->times > 0) {
        crt_poll r = crt_file_read(cx, self->f, &self->byte, 1);
        if (r == CRT_PENDING) return r;
        if (r == CRT_UNWIND) {
            unwinds++;
            return r;
        }
        EX_ASSERT(r == 1 && self->byte == next_byte);
        next_byte++;
        self->times--;
    }
    done++;
    return 0;
}
static void start_read(int times, crt_join_handle **join)
{
    read_frame f = {.f = file, .times = times};
    model_start(read_run, &f, sizeof f, join);
}
static void close_file(void)
{
    crt_file_close(&file);
    model_pool_finish();
    EX_ASSERT(closed_calls == 1);
}
// One read is given up at any moment of its life, then somebody else reads.
static void read_after_abort(bool seekable)
{
    setup(1);
    open_file(seekable);
    start_read(1, &handle[0]);
    int a = ex_spawn(abort_first, NULL);
    model_run_until(&workers[0], 1);
    start_read(2, NULL);
    model_run_until(&workers[0], 2);
    ex_join(a);
    EX_ASSERT(done + unwinds == 2 && next_byte == 2 + (done == 2));
    close_file();
}
static void read_after_abort_seek(void) { read_after_abort(true); }
static void read_after_abort_keep(void) { read_after_abort(false); }
// The same, and the file is closed at once: what was read for nobody goes with it.
static void close_after_abort(void)
{
    setup(1);
    open_file(false);
    start_read(1, &handle[0]);
    int a = ex_spawn(abort_first, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a);
    close_file();
    EX_ASSERT(done + unwinds == 1);
}
// Who waits for the turn of a call that was given up is given up himself.
static void abort_second(void *arg)
{
    (void)arg;
    crt_abort(handle[1]);
    crt_detach(&handle[1]);
}
static void waits_for_the_turn(void)
{
    setup(1);
    open_file(true);
    start_read(1, &handle[0]);
    crt_cx cx;
    bool from_lifo;
    model_enter(&workers[0], &cx);
    crt__run_task(&workers[0], &cx, crt__next_task(&workers[0], &from_lifo));   // the job may have begun
    abort_first(NULL);
    model_run_until(&workers[0], 1);
    start_read(1, &handle[1]);
    int a = ex_spawn(abort_second, NULL);
    model_run_until(&workers[0], 2);
    ex_join(a);
    EX_ASSERT(done + unwinds == 2);
    close_file();
    EX_ASSERT((int)position == next_byte);   // what was read for nobody was taken back
}

// --- lookups

static crt_poll resolve_run(void *frame, crt_cx *cx)
{
    crt_addr out;
    (void)frame;
    crt_poll r = crt_resolve(cx, "nobody:80", &out, 1);
    if (r == CRT_PENDING) return r;
    EX_ASSERT(r < 0);
    unwinds += r == CRT_UNWIND;
    done += r != CRT_UNWIND;
    return r == CRT_UNWIND ? r : 0;
}
static void lookups_end(int n)
{
    model_pool_finish();
    EX_ASSERT(done + unwinds == n && most_inside <= 1);
    EX_ASSERT(rt.lookups == 0 && !rt.lookup_first && !rt.lookup_last);
}
static void two_lookups(void)
{
    setup(2);
    for (int i = 0; i < 2; i++) model_start(resolve_run, NULL, 0, NULL);
    model_run_until(&workers[0], 2);
    lookups_end(2);
    EX_ASSERT(done == 2);
}
// The one that runs, or the one that waits, is given up.
static void lookup_against_abort(int which)
{
    setup(1);
    for (int i = 0; i < 2; i++) model_start(resolve_run, NULL, 0, i == which ? &handle[0] : NULL);
    int a = ex_spawn(abort_first, NULL);
    model_run_until(&workers[0], 2);
    ex_join(a);
    lookups_end(2);
}
static void running_lookup_aborted(void) { lookup_against_abort(0); }
static void waiting_lookup_aborted(void) { lookup_against_abort(1); }
static void no_thread_for_a_lookup(void)
{
    setup(1);
    for (int i = 0; i < 2; i++) model_start(resolve_run, NULL, 0, NULL);
    model_start_may_fail = true;
    model_run_until(&workers[0], 2);
    lookups_end(2);
    EX_ASSERT(done == 2);
}

static const model models[] = {
    {.name = "file: a read is given up, another follows", .run = read_after_abort_seek},
    {.name = "file: the same with a pipe", .run = read_after_abort_keep},
    {.name = "file: a read is given up, and it is closed", .run = close_after_abort},
    {.name = "file: a wait for the turn is given up", .run = waits_for_the_turn},
    {.name = "lookup: two, one at a time", .run = two_lookups},
    {.name = "lookup: the one that runs is given up", .run = running_lookup_aborted},
    {.name = "lookup: the one that waits is given up", .run = waiting_lookup_aborted},
    {.name = "lookup: a thread may not be had", .run = no_thread_for_a_lookup},

    {.name = "seed: file: the end of a job takes no lock", .run = read_after_abort_keep,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: file: what is kept has no reference", .run = read_after_abort_keep,
     .seed = {"crt__fs_settle", "add &c->call.refs", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: file: a wait for the turn holds no reference", .run = waits_for_the_turn,
     .seed = {"crt__file_ref", NULL, MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: lookup: one that ends tells nobody", .run = two_lookups,
     .seed = {"crt__call_finish", "xchg &c->word", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: lookup: it is given up without a look", .run = running_lookup_aborted,
     .seed = {"crt__word_unpark", "cas word", MODEL_SKIP, 0, NULL, 0}},
};
MODEL_MAIN(models)
