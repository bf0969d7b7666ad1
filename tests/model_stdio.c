// model_stdio.c - standard streams: the thread of each against its handles, and against exit.
//
// Promise: what is written is written once, in order, also by a thread that is just ending when another handle comes;
// who waits for room, for the end of a flush or for bytes is told; exit() waits for what is left, and for no more.
// The kernel is a word: bytes written, or to be read; poll() waits for a change of it.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

static int model_poll(struct pollfd *p, unsigned long n);
static ssize_t model_read(int fd, void *buf, size_t n);
static ssize_t model_write(int fd, size_t n);
static int model_pipe(int fd[2]);
#define poll(p, n, timeout) model_poll((p), (n))
#define read(fd, buf, n) model_read((fd), (buf), (n))
#define write(fd, buf, n) model_write((fd), (n))
#define pipe2(fd, flags) model_pipe(fd)
#include "model_platform.h"

enum { WAKE_READ = 1000, WAKE_WRITE };   // the ends of the thread's pipe
static crt__sock table[64];
static uint32_t change;    // atomic futex word: something is ready, perhaps
static uint32_t wakes;     // atomic: bytes in the pipe
static uint32_t kernel;    // atomic: bytes to be read from 0, or that came to 1
static uint32_t pipes;     // atomic: ends that are open
static crt_stream *stream[2];
static model_hand *hand;
static int got;

static int model_pipe(int fd[2])
{
    fd[0] = WAKE_READ;
    fd[1] = WAKE_WRITE;
    crt__atomic_store(&wakes, 0, RELAXED);
    crt__atomic_add(&pipes, 2, RELAXED);
    return 0;
}
static void kernel_closed(crt__fd fd)
{
    if (fd == WAKE_READ || fd == WAKE_WRITE) crt__atomic_sub(&pipes, 1, RELAXED);
}
static void changed(void)
{
    crt__atomic_add(&change, 1, ACQ_REL);
    crt__futex_wake(&change, INT_MAX);
}
static bool can_go_on(int fd)
{
    return fd == 1 || crt__atomic_load(fd == WAKE_READ ? &wakes : &kernel, ACQUIRE) != 0;
}
static int model_poll(struct pollfd *p, unsigned long n)
{
    for (;;) {
        uint32_t seen = crt__atomic_load(&change, ACQUIRE);
        int ready = 0;
        for (unsigned long i = 0; i < n; i++) {
            p[i].revents = can_go_on(p[i].fd) ? p[i].events : 0;
            ready += p[i].revents != 0;
        }
        if (ready) return ready;
        crt__futex_wait(&change, seen, -1);
    }
}
static ssize_t model_read(int fd, void *buf, size_t n)
{
    if (fd == WAKE_READ) return (ssize_t)crt__atomic_xchg(&wakes, 0, ACQ_REL);
    EX_ASSERT(fd == 0 && n > 0);
    crt__atomic_sub(&kernel, 1, ACQ_REL);
    *(char *)buf = 'x';
    return 1;
}
static ssize_t model_write(int fd, size_t n)
{
    EX_ASSERT(fd == WAKE_WRITE || fd == 1);
    if (fd == WAKE_WRITE) {
        crt__atomic_add(&wakes, 1, ACQ_REL);
        changed();
    } else {
        crt__atomic_add(&kernel, (uint32_t)n, ACQ_REL);
    }
    return (ssize_t)n;
}

static crt_stream *open_one(int fd)
{
    crt_cx cx;
    crt_stream *s;
    memset(&cx, 0, sizeof cx);
    cx.rt = &rt;
    EX_ASSERT(crt__stdio_open(&cx, fd, &s) == 0);
    return s;
}
static void setup(int fd)
{
    crt__stdio *io = &crt__stdios[fd];
    model_runtime(1);
    model_watch(table, sizeof table);
    memset(table, 0, sizeof table);
    memset(io, 0, offsetof(crt__stdio, data));
    io->at_exit = true;   // nothing is to happen at the explorer's own exit
    rt.sock_table[0] = table;
    reactor.closed = kernel_closed;
    model_reactor = &reactor;
    change = wakes = kernel = pipes = 0;
    got = 0;
    stream[0] = stream[1] = NULL;
    hand = model_hand_new();
    stream[0] = open_one(fd);
}
// The thread has ended, with all that was its.
static void finish(int fd)
{
    crt__stdio *io = &crt__stdios[fd];
    for (int i = 0; i < 2; i++) crt_close(&stream[i]);
    for (bool runs = true; runs;) {
        crt__lock(&io->lock);
        runs = io->running;
        crt__unlock(&io->lock);
        if (runs) crt__cpu_relax();
    }
    EX_ASSERT(!io->ends && pipes == 0 && rt.refs == 2);
    model_hand_free(hand);
}

// --- written

static void write_and_flush(void *arg)
{
    crt_stream *s = arg;
    crt_poll r;
    EX_ASSERT(crt_try_write(s, "a", 1) == 1);
    MODEL_AWAIT(hand, r, crt_flush(&hand->cx, s));
    EX_ASSERT(r == 0);
}
static void flush_against_thread(void)
{
    setup(1);
    write_and_flush(stream[0]);
    EX_ASSERT(kernel == 1);
    finish(1);
}
static void write_another(void *arg)
{
    EX_ASSERT(crt_try_write(arg, "b", 1) == 1);
}
static void two_write(void)
{
    setup(1);
    stream[1] = open_one(1);
    int a = ex_spawn(write_another, stream[1]);
    write_and_flush(stream[0]);
    ex_join(a);
    finish(1);
    EX_ASSERT(kernel == 2);   // the second may have closed with it unwritten: the thread stays for it
}
// Full: who waits is told of the room. The bytes are made up.
static void write_when_full(void)
{
    crt_poll r;
    setup(1);
    EX_ASSERT(crt_try_write(stream[0], "a", 1) == 1);
    crt__lock(&crt__stdios[1].lock);
    size_t more = crt__stdios[1].count ? CRT__STDIO_BUFFER - crt__stdios[1].count : 0;
    if (!more) more = CRT__STDIO_BUFFER;
    crt__stdios[1].count += more;
    crt__stdio_wake_up(&crt__stdios[1].wake);
    crt__unlock(&crt__stdios[1].lock);
    MODEL_AWAIT(hand, r, crt_write(&hand->cx, stream[0], "b", 1));
    EX_ASSERT(r == 1);
    finish(1);
    EX_ASSERT(kernel == more + 2);
}
// The last handle goes, the thread ends, and another handle comes meanwhile.
static void close_it(void *arg)
{
    (void)arg;
    crt_close(&stream[0]);
}
static void close_against_another(void)
{
    setup(1);
    EX_ASSERT(crt_try_write(stream[0], "a", 1) == 1);
    int a = ex_spawn(close_it, NULL);
    stream[1] = open_one(1);
    write_and_flush(stream[1]);
    EX_ASSERT(kernel == 2);
    ex_join(a);
    finish(1);
}
static void exit_waits(void)
{
    setup(1);
    EX_ASSERT(crt_try_write(stream[0], "a", 1) == 1);
    int a = ex_spawn(close_it, NULL);
    crt__stdio_at_exit();
    EX_ASSERT(kernel == 1);
    ex_join(a);
    finish(1);
}

// --- read

static void types(void *arg)
{
    for (intptr_t i = 0; i < (intptr_t)arg; i++) {
        crt__atomic_add(&kernel, 1, ACQ_REL);
        changed();
    }
}
static void read_against_input(void)
{
    char c;
    crt_poll r;
    setup(0);
    int a = ex_spawn(types, (void *)2);
    for (int i = 0; i < 2; i++) {
        MODEL_AWAIT(hand, r, crt_read(&hand->cx, stream[0], &c, 1));
        EX_ASSERT(r == 1 && c == 'x');
    }
    ex_join(a);
    finish(0);
}
static void try_another(void *arg)
{
    char c;
    crt_poll n = crt_try_read(arg, &c, 1);
    EX_ASSERT(n == 1 || n == CRT_EAGAIN);
    got += n == 1;
}
static void two_read(void)
{
    char c;
    crt_poll r;
    setup(0);
    stream[1] = open_one(0);
    int a = ex_spawn(try_another, stream[1]);
    types((void *)2);
    MODEL_AWAIT(hand, r, crt_read(&hand->cx, stream[0], &c, 1));
    EX_ASSERT(r == 1);
    ex_join(a);
    finish(0);
    EX_ASSERT(got + 1 + (int)crt__stdios[0].count + (int)kernel == 2);
}

static const model models[] = {
    {.name = "a flush against the thread", .run = flush_against_thread},
    {.name = "two handles write, one flushes", .run = two_write},
    {.name = "a write waits for room", .run = write_when_full},
    {.name = "the thread ends while another handle comes", .run = close_against_another},
    {.name = "exit waits for what is left", .run = exit_waits},
    {.name = "a read against what comes", .run = read_against_input},
    {.name = "two handles read", .run = two_read},

    {.name = "seed: the thread takes no lock", .run = two_write,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, &crt__stdios[1].lock, 0}},
    {.name = "seed: who waits for exit is not told", .run = exit_waits,
     .seed = {"crt__stdio_transfer", "add &io->drained", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: clearing ignores what the thread has told", .run = write_when_full,
     .seed = {"crt__ready_clear", "cas &s->ready", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: waiting does not look again", .run = flush_against_thread,
     .seed = {"crt__io_park", "load &s->ready", MODEL_VALUE, 0, NULL, 0}},
};
MODEL_MAIN(models)
