// Streams in memory, buffered readers and writers, copies, frames, mocks, deadlines.
// Allocations are counted: whatever is cancelled, no buffer is left.
#include <stdbool.h>
#include <stdlib.h>
static int live_blocks, fail_after = -1;   // atomic
static bool fail_for_good;
static void *test_malloc(size_t n)
{
    if (fail_after >= 0 && fail_after-- == 0) {
        if (fail_for_good) fail_after = 0;
        return NULL;
    }
    void *p = malloc(n);
    if (p) __atomic_fetch_add(&live_blocks, 1, __ATOMIC_RELAXED);
    return p;
}
static void test_free(void *p)
{
    if (p) __atomic_fetch_sub(&live_blocks, 1, __ATOMIC_RELAXED);
    free(p);
}
#define CRT_MALLOC(n) test_malloc(n)
#define CRT_FREE(p) test_free(p)
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#include "by_hand.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/wait.h>
// A sanitizer's allocator is not seen to across fork(): its lock, held by another thread then, stays held in the child.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define FORK_WITH_THREADS false
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define FORK_WITH_THREADS false
#endif
#endif
#ifndef FORK_WITH_THREADS
#define FORK_WITH_THREADS true
#endif

typedef struct st {
    crt_frame co;
    crt_stream *a, *b, *c, *d;
    crt_reader in;
    crt_writer out;
    crt_copier copier;
    crt_copier_pair pair;
    crt_bytes bytes;
    crt_timer timer, timer2;
    crt_join_handle *join, *join2;
    crt_instant t0, until;
    CRT_SELECT(3) sel;
    char *line;
    void *data;
    char buf[4096], buf2[4096];
    size_t n;
    int i, k;
    crt_poll r, w, x, y;
    intptr_t result;
} st;
static void close_all(st *self)
{
    crt_reader_drop(&self->in);
    crt_writer_drop(&self->out);
    crt_bytes_drop(&self->bytes);
    crt_close(&self->a);
    crt_close(&self->b);
    crt_close(&self->c);
    crt_close(&self->d);
}
// Runs fn; afterwards as many blocks are in use as before.
static void run_on(crt_runtime *rt, crt_fn fn)
{
    static st frame;
    memset(&frame, 0, sizeof frame);
    CHECK_EQ(crt_block_on(rt, fn, &frame), 0);
}
static crt_runtime *paused(void)
{
    crt_runtime *rt = NULL;
    crt_config c = {.flavor = CRT_CURRENT_THREAD, .start_paused = true, .drivers = CRT_DRIVER_TIME, .log.func = test_log};
    test_log_clear();
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    return rt;
}
// The same on a runtime of its own, with the virtual clock and without CRT_DRIVER_IO.
static void run(crt_fn fn)
{
    int before = live_blocks;
    crt_runtime *rt = paused();
    run_on(rt, fn);
    crt_runtime_drop(&rt);
    CHECK_EQ(live_blocks, before);
}
static bool same(const void *a, const char *text, crt_poll n)
{
    return n == (crt_poll)strlen(text) && !memcmp(a, text, (size_t)n);
}

// --- duplex

static crt_poll duplex_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 0, &self->a, &self->b), CRT_EINVAL);
    CHECK(!self->a && !self->b);
    CHECK_EQ(crt_duplex(cx, SIZE_MAX / 2, &self->a, &self->b), CRT_ENOMEM);
    CHECK_EQ(crt_duplex(cx, 8, &self->a, &self->b), 0);
    CHECK_EQ(crt_stream_fd(self->a), -1);
    CHECK_EQ(crt_stream_set_nodelay(self->a, true), CRT_EINVAL);
    // At once.
    CHECK_EQ(crt_try_read(self->b, self->buf, 4), CRT_EAGAIN);
    CHECK_EQ(crt_try_write(self->a, "0123456789", 10), 8);
    CHECK_EQ(crt_try_write(self->a, "x", 1), CRT_EAGAIN);
    CHECK_EQ(crt_try_read(self->b, self->buf, 3), 3);
    CHECK_EQ(crt_try_write(self->a, "abcdef", 6), 3);   // around the ring
    CHECK_EQ(crt_try_read(self->b, self->buf + 3, 100), 8);
    CHECK(same(self->buf, "01234567abc", 11));
    // A look at less than was asked for leaves what is there to be read; nothing is left to be flushed.
    CHECK_EQ(crt_try_write(self->b, "abc", 3), 3);
    for (self->i = 0; self->i < 2; self->i++) {
        CRT_AWAIT(self->r = crt_peek(cx, self->a, self->buf, 10));
        CHECK(same(self->buf, "abc", self->r));
    }
    CRT_AWAIT(self->r = crt_flush(cx, self->b));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 10));
    CHECK(same(self->buf, "abc", self->r));
    // Backpressure: a write of more than there is room for goes on as the peer reads.
    for (self->i = 0; self->i < 1000; self->i++) self->buf2[self->i] = (char)self->i;
    CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
        crt_on(cx, 0, self->w = crt_write_all(cx, self->a, self->buf2, 1000)),
        crt_on(cx, 1, self->x = crt_read_exact(cx, self->b, self->buf, 1000))));
    CHECK(self->w == 1000 && self->x == 1000 && !memcmp(self->buf, self->buf2, 1000));
    // The two directions do not meet.
    CRT_AWAIT(self->w = crt_write(cx, self->b, "back", 4));
    CHECK_EQ(self->w, 4);
    CHECK_EQ(crt_try_read(self->b, self->buf, 4), CRT_EAGAIN);
    CRT_AWAIT(self->r = crt_readable(cx, self->a));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 100));
    CHECK(same(self->buf, "back", self->r));
    // Waits for what does not come; and for room.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_readable(cx, self->a)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_writable(cx, self->a)));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_try_write(self->a, "01234567", 8), 8);
    CHECK_EQ(crt_try_write(self->a, "8", 1), CRT_EAGAIN);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_writable(cx, self->a)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    // A cancelled read has taken nothing; a cancelled write has given nothing.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_write(cx, self->a, "lost?", 5)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CRT_AWAIT(self->r = crt_read(cx, self->b, self->buf, 100));
    CHECK(same(self->buf, "01234567", self->r));
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_read(cx, self->b, self->buf, 100)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    // Several pieces; a look ahead, which takes nothing.
    CHECK_EQ(crt_try_writev(self->a, (crt_iovec[]){{"12", 2}, {"", 0}, {"345", 3}, {"67890", 5}}, 4), 8);
    CRT_AWAIT(self->r = crt_peek(cx, self->b, self->buf, 4));
    CHECK(same(self->buf, "1234", self->r));
    memset(self->buf, 0, 20);
    CHECK_EQ(crt_try_readv(self->b, (crt_iovec[]){{self->buf, 3}, {self->buf + 10, 10}}, 2), 8);
    CHECK(!strcmp(self->buf, "123") && !strcmp(self->buf + 10, "45678"));
    CHECK_EQ(crt_try_peek(self->b, self->buf, 4), CRT_EAGAIN);
    CHECK_EQ(crt_try_readv(self->b, (crt_iovec[]){{self->buf, 3}}, 1), CRT_EAGAIN);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
        crt_on(cx, 0, self->w = crt_writev_all(cx, self->a, (crt_iovec[]){{self->buf2, 400}, {self->buf2 + 400, 600}}, 2)),
        crt_on(cx, 1, self->x = crt_read_exact(cx, self->b, self->buf, 1000))));
    CHECK(self->w == 1000 && self->x == 1000 && !memcmp(self->buf, self->buf2, 1000));
    CHECK_EQ(crt_stream_into_fd(&self->a), -EBADF);
    CHECK(self->a != NULL);
    // Nothing to do, and bad input.
    CRT_AWAIT(self->r = crt_read(cx, self->b, NULL, 0));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_write_all(cx, self->b, NULL, 0));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_read(cx, self->b, NULL, 3));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void duplex_carries_bytes_with_backpressure(void) { run(duplex_run); }

static crt_poll ends_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    // Half-close: the peer reads what there is, then 0, and may still write.
    CHECK_EQ(crt_duplex(cx, 16, &self->a, &self->b), 0);
    CHECK_EQ(crt_try_write(self->a, "last", 4), 4);
    CRT_AWAIT(self->r = crt_shutdown(cx, self->a));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_shutdown(cx, self->a));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_try_write(self->a, "x", 1), -EPIPE);
    CRT_AWAIT(self->r = crt_read(cx, self->b, self->buf, 100));
    CHECK(same(self->buf, "last", self->r));
    for (self->i = 0; self->i < 3; self->i++) {
        CRT_AWAIT(self->r = crt_read(cx, self->b, self->buf, 100));
        CHECK_EQ(self->r, 0);
    }
    CRT_AWAIT(self->r = crt_read_exact(cx, self->b, self->buf, 1));
    CHECK_EQ(self->r, CRT_EEOF);
    CRT_AWAIT(self->r = crt_write_all(cx, self->b, "reply", 5));
    CHECK_EQ(self->r, 5);
    crt_close(&self->b);
    CRT_AWAIT(self->r = crt_read_exact(cx, self->a, self->buf, 5));
    CHECK(same(self->buf, "reply", self->r));
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 5));
    CHECK_EQ(self->r, 0);
    crt_close(&self->a);
    // Closed: the peer's write is refused, also one that waits.
    CHECK_EQ(crt_duplex(cx, 4, &self->a, &self->b), 0);
    self->c = crt_stream_clone(self->b);
    crt_close(&self->b);
    CHECK_EQ(crt_try_write(self->a, "1234", 4), 4);   // a clone is left
    CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
        crt_on(cx, 0, self->w = crt_write_all(cx, self->a, "5678", 4)),
        crt_on(cx, 1, (crt_close(&self->c), 0))));
    CHECK_EQ(self->w, -EPIPE);
    crt_close(&self->a);
    // Closed under a task that waits through it; and the peer ends one that waits.
    CHECK_EQ(crt_duplex(cx, 4, &self->a, &self->b), 0);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
        crt_on(cx, 0, self->x = crt_read(cx, self->a, self->buf, 4)),
        crt_on(cx, 1, self->y = crt_read(cx, self->b, self->buf2, 4)),
        crt_on(cx, 2, (crt_close(&self->a), 0))));
    CHECK_EQ(self->x, CRT_ECLOSED);
    CHECK_EQ(self->y, 0);
    crt_close(&self->b);
    // Nothing more is wanted: what came can be read, the peer is refused.
    CHECK_EQ(crt_duplex(cx, 4, &self->a, &self->b), 0);
    CHECK_EQ(crt_try_write(self->b, "abcd", 4), 4);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
        crt_on(cx, 0, self->x = crt_write_all(cx, self->b, "e", 1)),
        crt_on(cx, 1, self->y = crt_shutdown_read(cx, self->a))));
    CHECK(self->x == -EPIPE && self->y == 0);
    CHECK_EQ(crt_try_read(self->a, self->buf, 10), 4);
    CHECK_EQ(crt_try_read(self->a, self->buf, 10), 0);
    CHECK_EQ(crt_try_write(self->a, "back", 4), 4);
    CHECK_EQ(crt_try_read(self->b, self->buf, 10), 4);
    crt_close(&self->a);
    crt_close(&self->b);
    // A shutdown ends the write of a clone that waits for room.
    CHECK_EQ(crt_duplex(cx, 1, &self->a, &self->b), 0);
    self->c = crt_stream_clone(self->a);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
        crt_on(cx, 0, self->x = crt_write_all(cx, self->c, "12", 2)),
        crt_on(cx, 1, self->y = crt_shutdown(cx, self->a))));
    CHECK_EQ(self->x, -EPIPE);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void duplex_ends_as_sockets_do(void) { run(ends_run); }

// A record that is used again is not taken for the one before.
static crt_poll reuse_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 500; self->i++) {
        CHECK_EQ(crt_duplex(cx, 3, &self->a, &self->b), 0);
        CHECK_EQ(crt_try_read(self->a, self->buf, 1), CRT_EAGAIN);
        CHECK_EQ(crt_try_write(self->a, "abc", 3), 3);
        if (self->i & 1) crt_close(&self->a);
        CRT_AWAIT(self->r = crt_read(cx, self->b, self->buf, 10));
        CHECK(same(self->buf, "abc", self->r));
        crt_close(&self->b);
        crt_close(&self->a);
    }
    CRT_END;
}
static void duplex_records_are_used_again(void) { run(reuse_run); }

static crt_poll no_memory_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 8; self->i++) {
        fail_after = self->i;
        self->k = crt_duplex(cx, 100, &self->a, &self->b);
        fail_after = -1;
        CHECK(self->k == 0 || (self->k == CRT_ENOMEM && !self->a && !self->b));
        crt_close(&self->a);
        crt_close(&self->b);
        if (self->k == 0) break;
    }
    CHECK(self->i > 0 && self->i < 8);
    CRT_END;
}
static void duplex_without_memory(void) { run(no_memory_run); }

// Records come in a table of 64 at first; the next needs memory. What opens something needs a record.
enum { RECORDS = 64 };
static crt_stream *opened[RECORDS];
static crt_poll no_record_run(void *frame, crt_cx *cx)
{
    static const crt_mock_step script[] = {crt_mock_read("x", 1)};
    st *self = frame;
    int fd[2], fds;
    (void)self;
    for (int i = 0; i < RECORDS - 2; i += 2) CHECK_EQ(crt_duplex(cx, 4, &opened[i], &opened[i + 1]), 0);
    CHECK_EQ(crt_mock_new(cx, "m", NULL, 0, &opened[RECORDS - 2]), 0);
    fail_after = 1;   // one end has a record
    CHECK_EQ(crt_duplex(cx, 4, &self->a, &self->b), CRT_ENOMEM);
    CHECK(fail_after == -1 && !self->a && !self->b);
    CHECK_EQ(crt_mock_new(cx, "m", NULL, 0, &opened[RECORDS - 1]), 0);
    CHECK(cx->rt->sock_count == RECORDS && !cx->rt->sock_free);
    int blocks = live_blocks;
    fail_for_good = true;
    for (int i = 0; i < 2; i++) {
        fail_after = 1 - i;
        CHECK_EQ(crt_duplex(cx, 4, &self->a, &self->b), CRT_ENOMEM);
        fail_after = 1 - i;
        CHECK_EQ(crt_mock_new(cx, "m", script, 1, &self->a), CRT_ENOMEM);
        fail_after = 1 - i;
        CHECK_EQ(crt_stderr(cx, &self->a), CRT_ENOMEM);
    }
    if (cx->rt->reactor) {
        CHECK_EQ(test_pipe(fd), 0);
        fds = test_fd_count();
        fail_after = 0;
        CHECK_EQ(crt_stream_from_fd(cx, fd[0], CRT_FD_OWN, &self->a), CRT_ENOMEM);
        CHECK_EQ(test_fd_count(), fds);   // it is still the caller's
        close(fd[0]);
        close(fd[1]);
    }
    fail_after = -1;
    fail_for_good = false;
    CHECK(!self->a && !self->b && live_blocks == blocks);
    fail_after = 1;   // the first end has none, the second has one of a new table
    CHECK_EQ(crt_duplex(cx, 4, &self->a, &self->b), CRT_ENOMEM);
    CHECK(fail_after == -1 && !self->a && !self->b);
    for (int i = 0; i < RECORDS; i++) crt_close(&opened[i]);
    return 0;
}
static void without_a_record(crt_runtime *rt) { run_on(rt, no_record_run); }

// Echo through a task, on every flavour; between two runtimes; from a plain thread.
typedef struct echo {
    crt_frame co;
    crt_stream *s;
    char buf[64];
    crt_poll n;
} echo;
static crt_poll echo_run(void *frame, crt_cx *cx)
{
    echo *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->n = crt_read(cx, self->s, self->buf, sizeof self->buf));
        if (self->n <= 0) CRT_RETURN(self->n);
        CRT_AWAIT(self->n = crt_write_all(cx, self->s, self->buf, (size_t)self->n));
        if (self->n < 0) CRT_RETURN(self->n);
    }
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
#ifdef _WIN32   // where a task that is woken costs a few calls of the system
enum { ECHO_BYTES = 20000 };
#else
enum { ECHO_BYTES = 200000 };
#endif
// Each 50 bytes of a thread change hands with the scheduler, whose turns are long on a busy machine.
enum { THREAD_BYTES = 20000 };
static unsigned char byte_at(size_t i) { return (unsigned char)(i * 7 + i / 251); }
static crt_handle *other_runtime;
typedef struct side {
    crt_frame co;
    crt_stream *s;
    size_t at;
    bool wrong;
    unsigned char buf[97];
    crt_poll n;
} side;
static crt_poll send_run(void *frame, crt_cx *cx)
{
    side *self = frame;
    CRT_BEGIN(self, cx);
    while (self->at < ECHO_BYTES) {
        size_t n = crt__min(sizeof self->buf, ECHO_BYTES - self->at);
        for (size_t i = 0; i < n; i++) self->buf[i] = byte_at(self->at + i);
        CRT_AWAIT(self->n = crt_write_all(cx, self->s, self->buf, crt__min(sizeof self->buf, ECHO_BYTES - self->at)));
        if (self->n < 0) CRT_RETURN(self->n);
        self->at += (size_t)self->n;
    }
    CRT_AWAIT(self->n = crt_shutdown(cx, self->s));
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
static crt_poll receive_run(void *frame, crt_cx *cx)
{
    side *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->n = crt_read(cx, self->s, self->buf, sizeof self->buf));
        if (self->n <= 0) break;
        for (crt_poll i = 0; i < self->n; i++) self->wrong |= self->buf[i] != byte_at(self->at + (size_t)i);
        self->at += (size_t)self->n;
    }
    CRT_FINALLY
        crt_close(&self->s);
        if (self->wrong) CRT_RETURN(-1);
        CRT_RETURN((crt_poll)self->at);
    CRT_END;
}
static crt_poll through_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 50, &self->a, &self->b), 0);
    self->c = crt_stream_clone(self->a);
    if (other_runtime) self->k = crt_handle_spawn_join(other_runtime, &self->join, echo_run, &(echo){.s = self->b});
    else self->k = crt_spawn_join(cx, &self->join, echo_run, &(echo){.s = self->b});
    CHECK_EQ(self->k, 0);
    self->b = NULL;
    CHECK_EQ(crt_spawn_join(cx, &self->join2, send_run, &(side){.s = self->c}), 0);
    self->c = NULL;
    CHECK_EQ(crt_spawn(cx, receive_run, &(side){.s = NULL}), 0);   // no stream: an error, no more
    {
        static side here;
        here = (side){.s = self->a};
        self->a = NULL;
        self->data = &here;
    }
    CRT_AWAIT(self->r = receive_run(self->data, cx));
    CHECK_EQ(self->r, ECHO_BYTES);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK(self->r == 0 && self->result == 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->join2, &self->result));
    CHECK(self->r == 0 && self->result == 0);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void duplex_echo(crt_runtime *rt)
{
    other_runtime = NULL;
    run_on(rt, through_run);
}
static void duplex_echo_between_two_runtimes(crt_runtime *rt)
{
    crt_runtime *other;
    crt_config c = {.worker_threads = 1};
    CHECK_EQ(crt_runtime_new(&c, &other), 0);
    other_runtime = crt_runtime_handle(other);
    run_on(rt, through_run);
    crt_handle_drop(&other_runtime);
    crt_runtime_drop(&other);
}
static void *plain_thread(void *arg)
{
    crt_stream *s = arg;
    size_t at = 0;
    while (at < THREAD_BYTES) {
        unsigned char buf[97];
        size_t n = crt__min(sizeof buf, THREAD_BYTES - at);
        for (size_t i = 0; i < n; i++) buf[i] = byte_at(at + i);
        crt_poll k = crt_try_write(s, buf, n);
        if (k > 0) at += (size_t)k;
        else if (k == CRT_EAGAIN) sched_yield();
        else break;
    }
    crt_close(&s);
    return NULL;
}
static crt_poll from_thread_run(void *frame, crt_cx *cx)
{
    static side here;
    static pthread_t thread;
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 50, &self->a, &self->b), 0);
    here = (side){.s = self->a};
    self->a = NULL;
    CHECK_EQ(pthread_create(&thread, NULL, plain_thread, self->b), 0);
    self->b = NULL;
    CRT_AWAIT(self->r = receive_run(&here, cx));
    CHECK_EQ(self->r, THREAD_BYTES);
    pthread_join(thread, NULL);
    CRT_END;
}
static void duplex_from_a_plain_thread(crt_runtime *rt) { run_on(rt, from_thread_run); }

// A runtime that made a pair is shut down: what was written can be had, then it says so.
static crt_poll give_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 50, &self->a, &self->b), 0);
    CHECK_EQ(crt_try_write(self->a, "will", 4), 4);
    CRT_END;
}
static void duplex_outlives_its_runtime(void)
{
    int before = live_blocks;
    st frame = {0};
    crt_runtime *rt = paused();
    CHECK_EQ(crt_block_on(rt, give_run, &frame), 0);
    crt_runtime_drop(&rt);
    CHECK_EQ(crt_try_read(frame.b, frame.buf, 9), 4);
    CHECK_EQ(crt_try_read(frame.b, frame.buf, 9), CRT_ESHUTDOWN);
    crt_close(&frame.a);
    CHECK_EQ(crt_try_read(frame.b, frame.buf, 9), 0);
    crt_close(&frame.b);
    CHECK_EQ(live_blocks, before);
}

// Tasks that are parked on streams in memory are ended by an abort and by a shutdown.
static crt_poll abandoned_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 5, &self->a, &self->b), 0);
    self->c = crt_stream_clone(self->a);
    CHECK_EQ(crt_spawn_join(cx, &self->join, echo_run, &(echo){.s = self->c}), 0);
    self->c = NULL;
    CRT_YIELD();
    crt_abort(self->join);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK_EQ(self->r, CRT_ECANCELED);
    CHECK_EQ(crt_try_write(self->b, "x", 1), 1);   // self->a is open
    CHECK_EQ(crt_spawn(cx, echo_run, &(echo){.s = self->a}), 0);   // the shutdown ends it
    self->a = NULL;
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void duplex_abandoned(crt_runtime *rt) { run_on(rt, abandoned_run); }

// --- reader

static void put(st *self, const char *text) { CHECK_EQ(crt_try_write(self->b, text, strlen(text)), strlen(text)); }

// Writes two texts, each 1 ms after what came before.
typedef struct late {
    crt_frame co;
    crt_stream *s;
    const char *text[2];
    int i;
    crt_poll r;
} late;
static crt_poll late_run(void *frame, crt_cx *cx)
{
    late *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 2; self->i++) {
        CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
        CRT_AWAIT(self->r = crt_write_all(cx, self->s, self->text[self->i], strlen(self->text[self->i])));
    }
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
static crt_poll reader_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 4096, &self->a, &self->b), 0);
    CRT_AWAIT(self->r = crt_reader_fill(cx, &self->in, 1));   // not initialised
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_reader_read_exact(cx, &self->in, self->buf, 1));
    CHECK_EQ(self->r, CRT_EINVAL);
    CHECK(!crt_reader_data(&self->in) && !crt_reader_buffered(&self->in));
    crt_reader_init(&self->in, self->a, NULL, 0);
    CHECK(!self->in.data);   // an idle connection owns no buffer
    // Lines.
    put(self, "first\nsecond\r\n\n\r\n\rx\r\r\nlast");
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 100, &self->line));
    CHECK(self->r == 5 && !strcmp(self->line, "first"));
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 0, &self->line));
    CHECK(self->r == 6 && !strcmp(self->line, "second"));
    for (self->i = 0; self->i < 2; self->i++) {
        CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 100, &self->line));
        CHECK(self->r == 0 && self->line && !*self->line);
    }
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 100, &self->line));
    CHECK(self->r == 3 && !strcmp(self->line, "\rx\r"));
    // It waits for the rest, and loses nothing when that is given up.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_reader_read_line(cx, &self->in, 100, &self->line)));
    CHECK(self->r == CRT_ETIMEDOUT && !self->line);
    CHECK(same(crt_reader_data(&self->in), "last", (crt_poll)crt_reader_buffered(&self->in)));
    CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
        crt_on(cx, 0, self->x = crt_reader_read_line(cx, &self->in, 100, &self->line)),
        crt_on(cx, 1, self->y = crt_write_all(cx, self->b, "ing\nabc;de", 10))));
    CHECK(self->x == 7 && !strcmp(self->line, "lasting"));
    // Up to a delimiter.
    CRT_AWAIT(self->r = crt_reader_read_until(cx, &self->in, ';', 0, &self->data));
    CHECK(same(self->data, "abc;", self->r));
    // Plain reads: from the buffer first, then past it.
    CRT_AWAIT(self->r = crt_reader_read(cx, &self->in, self->buf, 1));
    CHECK(same(self->buf, "d", self->r));
    CRT_AWAIT(self->r = crt_reader_read(cx, &self->in, self->buf, 100));
    CHECK(same(self->buf, "e", self->r));
    put(self, "0123456789");
    CRT_AWAIT(self->r = crt_reader_fill(cx, &self->in, 4));
    CHECK_EQ(self->r, 10);
    crt_reader_consume(&self->in, 2);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
        crt_on(cx, 0, self->x = crt_reader_read_exact(cx, &self->in, self->buf, 12)),
        crt_on(cx, 1, self->y = crt_write_all(cx, self->b, "abcdef", 6))));
    CHECK(same(self->buf, "23456789abcd", self->x));
    CHECK_EQ(crt_reader_buffered(&self->in), 2);
    // `min` counts at the first poll, whatever arrives meanwhile; `n` too.
    crt_reader_consume(&self->in, 100);
    CHECK_EQ(crt_spawn(cx, late_run, &(late){.s = crt_stream_clone(self->b), .text = {"ab", "c"}}), 0);
    CRT_AWAIT(self->x = crt_reader_fill(cx, &self->in, crt_reader_buffered(&self->in) + 3));
    CHECK_EQ(self->x, 3);
    crt_reader_consume(&self->in, 3);
    self->x = sizeof self->buf;
    CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
        crt_on(cx, 0, self->x = crt_reader_read(cx, &self->in, self->buf, (size_t)self->x)),
        crt_on(cx, 1, crt_write_all(cx, self->b, "short", 5))));
    CHECK(same(self->buf, "short", self->x));
    // The end: the last line needs no newline; then it says so, again and again.
    put(self, "unended");
    crt_close(&self->b);
    CRT_AWAIT(self->r = crt_reader_fill(cx, &self->in, 8));
    CHECK_EQ(self->r, CRT_EEOF);
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 100, &self->line));
    CHECK(self->r == 7 && !strcmp(self->line, "unended"));
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 100, &self->line));
    CHECK(self->r == CRT_ECLOSED && !self->line);
    CRT_AWAIT(self->r = crt_reader_read_until(cx, &self->in, 'x', 0, &self->data));
    CHECK(self->r == 0 && !self->data);
    CRT_AWAIT(self->r = crt_reader_fill(cx, &self->in, 1));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_reader_read(cx, &self->in, self->buf, 1));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_reader_read_exact(cx, &self->in, self->buf, 1));
    CHECK_EQ(self->r, CRT_EEOF);
    CRT_AWAIT(self->r = crt_reader_skip_until(cx, &self->in, '\n'));
    CHECK_EQ(self->r, CRT_ECLOSED);
    CRT_FINALLY
        close_all(self);
        crt_reader_drop(&self->in);   // twice is allowed
    CRT_END;
}
static void reader_gives_lines_pieces_and_bytes(void) { run(reader_run); }

static crt_poll too_long_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 40000, &self->a, &self->b), 0);
    crt_reader_init(&self->in, self->a, self->buf, 11);   // the caller's: 10 bytes
    put(self, "12345678\r\n123456789\n0123456789\nok\n");
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 9, &self->line));
    CHECK_EQ(self->r, CRT_EMSGSIZE);   // its end counts
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 10, &self->line));
    CHECK(self->r == 8 && !strcmp(self->line, "12345678"));
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 1000, &self->line));
    CHECK(self->r == 9 && !strcmp(self->line, "123456789"));
    for (self->i = 0; self->i < 2; self->i++) {   // more than the buffer; nothing is lost
        CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 1000, &self->line));
        CHECK(self->r == CRT_EMSGSIZE && !self->line);
        CHECK(same(crt_reader_data(&self->in), "0123456789", (crt_poll)crt_reader_buffered(&self->in)));
    }
    CRT_AWAIT(self->r = crt_reader_fill(cx, &self->in, 11));
    CHECK_EQ(self->r, CRT_EMSGSIZE);
    CRT_AWAIT(self->r = crt_reader_skip_until(cx, &self->in, '\n'));   // how to go on
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 1000, &self->line));
    CHECK(self->r == 2 && !strcmp(self->line, "ok"));
    // A skip that is given up goes on where it was.
    put(self, "skip");
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_reader_skip_until(cx, &self->in, '\n')));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    put(self, "this\nnot this\n");
    CRT_AWAIT(self->r = crt_reader_skip_until(cx, &self->in, '\n'));
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 0, &self->line));
    CHECK(self->r == 8 && !strcmp(self->line, "not this"));
    // A buffer of its own grows to the limit, not beyond.
    crt_reader_init(&self->in, self->a, NULL, 16);
    memset(self->buf2, 'x', sizeof self->buf2);
    self->buf2[1000] = '\n';
    CRT_AWAIT(self->r = crt_write_all(cx, self->b, self->buf2, 2000));
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 1000, &self->line));
    CHECK_EQ(self->r, CRT_EMSGSIZE);
    CHECK(self->in.capacity >= 1000 && self->in.capacity <= 2000);
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 1001, &self->line));   // a larger max
    CHECK(self->r == 1000 && strlen(self->line) == 1000);
    CRT_AWAIT(self->r = crt_reader_fill(cx, &self->in, 999));
    CHECK_EQ(self->r, 999);
    // And shrinks again when it was large for once.
    crt_reader_consume(&self->in, 999);
    put(self, "small\n");
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 10, &self->line));
    CHECK(self->r == 5 && self->in.capacity < 100);
    // No memory: an error, and nothing is lost.
    put(self, "0123456789012345678901234567890123456789\n");
    fail_after = 0;
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 100, &self->line));
    fail_after = -1;
    CHECK_EQ(self->r, CRT_ENOMEM);
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 100, &self->line));
    CHECK(self->r == 40 && !strncmp(self->line, "0123456789", 10));
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void lines_have_a_limit_and_lose_nothing(void) { run(too_long_run); }

// Every way to cut a stream in two gives the same lines.
static crt_poll cuts_run(void *frame, crt_cx *cx)
{
    static const char text[] = "ab\r\n\ncde\nf\r\r\nlonger line\nend";
    st *self = frame;
    CRT_BEGIN(self, cx);
    for (self->n = 0; self->n < sizeof text; self->n++) {
        CHECK_EQ(crt_duplex(cx, 100, &self->a, &self->b), 0);
        crt_reader_init(&self->in, self->a, self->i++ & 1 ? self->buf : NULL, 16);
        CHECK(crt_try_write(self->b, text, self->n) == (crt_poll)self->n || !self->n);
        self->k = 0;
        self->buf2[0] = 0;
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(1), crt_reader_fill(cx, &self->in, 15)));
        CHECK_EQ(crt_try_write(self->b, text + self->n, sizeof text - 1 - self->n), sizeof text - 1 - self->n);
        crt_close(&self->b);
        for (;;) {
            CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 15, &self->line));
            if (self->r < 0) break;
            CHECK_EQ(strlen(self->line), self->r);
            strcat(self->buf2, self->line);
            strcat(self->buf2, "|");
        }
        CHECK_EQ(self->r, CRT_ECLOSED);
        CHECK(!strcmp(self->buf2, "ab||cde|f\r|longer line|end|"));
        crt_reader_drop(&self->in);
        crt_close(&self->a);
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void lines_do_not_depend_on_how_bytes_arrive(void) { run(cuts_run); }

// --- writer

static crt_poll writer_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 10, &self->a, &self->b), 0);
    CRT_AWAIT(self->r = crt_writer_write_all(cx, &self->out, "x", 1));
    CHECK_EQ(self->r, CRT_EINVAL);   // not initialised
    CRT_AWAIT(self->r = crt_writer_flush(cx, &self->out));
    CHECK_EQ(self->r, CRT_EINVAL);
    crt_writer_init(&self->out, self->a, NULL, 4);
    CRT_AWAIT(self->r = crt_writer_flush(cx, &self->out));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_writer_write_all(cx, &self->out, "ab", 2));
    CHECK_EQ(self->r, 2);
    CHECK_EQ(crt_try_read(self->b, self->buf, 10), CRT_EAGAIN);   // not before it is full
    CHECK_EQ(crt_writer_buffered(&self->out), 2);
    CRT_AWAIT(self->r = crt_writer_write_all(cx, &self->out, "cde", 3));
    CHECK_EQ(self->r, 3);
    CHECK_EQ(crt_try_read(self->b, self->buf, 10), 4);
    CRT_AWAIT(self->r = crt_writer_flush(cx, &self->out));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_try_read(self->b, self->buf + 4, 10), 1);
    CHECK(same(self->buf, "abcde", 5));
    // Large: past the buffer, in order, with the result in place of n.
    CRT_AWAIT(self->r = crt_writer_write_all(cx, &self->out, "1", 1));
    for (self->i = 0; self->i < 1000; self->i++) self->buf2[self->i] = (char)self->i;
    self->x = 1000;
    CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
        crt_on(cx, 0, self->x = crt_writer_write_all(cx, &self->out, self->buf2, (size_t)self->x)),
        crt_on(cx, 1, self->y = crt_read_exact(cx, self->b, self->buf, 1001 - 3))));
    CHECK(self->x == 1000 && self->y == 998 && self->buf[0] == '1' && !memcmp(self->buf + 1, self->buf2, 997));
    // A flush that is given up has lost nothing.
    CRT_AWAIT(self->r = crt_writer_flush(cx, &self->out));
    CHECK_EQ(crt_try_read(self->b, self->buf, 10), 3);
    CHECK_EQ(crt_try_write(self->a, "12345678", 8), 8);
    CRT_AWAIT(self->r = crt_writer_write_all(cx, &self->out, "wxyz", 4));
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_writer_flush(cx, &self->out)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(crt_writer_buffered(&self->out), 2);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
        crt_on(cx, 0, self->x = crt_writer_shutdown(cx, &self->out)),
        crt_on(cx, 1, self->y = crt_read_exact(cx, self->b, self->buf, 12))));
    CHECK(self->x == 0 && same(self->buf, "12345678wxyz", self->y));
    CRT_AWAIT(self->r = crt_read(cx, self->b, self->buf, 1));
    CHECK_EQ(self->r, 0);
    // Nobody there: the error, and what was buffered is still there.
    CRT_AWAIT(self->r = crt_writer_write_all(cx, &self->out, "abc", 3));
    CHECK_EQ(self->r, 3);
    CRT_AWAIT(self->r = crt_writer_flush(cx, &self->out));
    CHECK_EQ(self->r, -EPIPE);
    CHECK_EQ(crt_writer_buffered(&self->out), 3);
    CRT_AWAIT(self->r = crt_writer_write_all(cx, &self->out, NULL, 3));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_writer_write_all(cx, &self->out, NULL, 0));
    CHECK_EQ(self->r, 0);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void writer_gathers_and_keeps_order(void) { run(writer_run); }

// --- to the end

static crt_poll to_end_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 10, &self->a, &self->b), 0);
    for (self->i = 0; self->i < 4096; self->i++) self->buf[self->i] = (char)(self->i * 3);
    for (self->i = 0; self->i < 3; self->i++) {   // to the limit exactly, one less, one more
        self->n = self->i == 0 ? 4096 : self->i == 1 ? 4095 : 5000;
        CHECK_EQ(crt_duplex(cx, 100, &self->c, &self->d), 0);
        CHECK_EQ(crt_spawn_join(cx, &self->join, send_run, &(side){.s = self->d, .at = ECHO_BYTES - 4096}), 0);
        self->d = NULL;
        CRT_AWAIT(self->r = crt_read_to_end(cx, self->c, &self->bytes, self->n));
        CHECK_EQ(self->r, self->i == 1 ? CRT_EMSGSIZE : 4096);
        CHECK_EQ(self->bytes.n, 4096);   // limit + 1 of them, or all
        CHECK_EQ(((unsigned char *)self->bytes.data)[4095], byte_at(ECHO_BYTES - 1));
        CHECK_EQ(((unsigned char *)self->bytes.data)[4096], 0);
        crt_bytes_drop(&self->bytes);
        crt_close(&self->c);
        CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    }
    // To bytes that the caller had; after the caller took what was read.
    for (self->i = 0; self->i < 2; self->i++) {
        CHECK_EQ(crt_duplex(cx, 100, &self->c, &self->d), 0);
        CHECK_EQ(crt_try_write(self->d, "tail", 4), 4);
        crt_close(&self->d);
        self->n = self->i ? 0 : 5000;
        if (self->i == 0) self->bytes.data = memset(test_malloc(self->n), 'x', self->n);
        self->bytes.n = self->n;
        CRT_AWAIT(self->r = crt_read_to_end(cx, self->c, &self->bytes, 10000));
        CHECK_EQ(self->r, (crt_poll)self->n + 4);
        CHECK(!strcmp((char *)self->bytes.data + self->n, "tail"));
        if (self->n) CHECK_EQ(((char *)self->bytes.data)[self->n - 1], 'x');
        test_free(self->bytes.data);
        self->bytes.data = NULL;
        crt_close(&self->c);
    }
    self->bytes = (crt_bytes){0};
    // Given up, and taken up again; appends; an empty stream.
    put(self, "part ");
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_read_to_end(cx, self->a, &self->bytes, 100)));
    CHECK(self->r == CRT_ETIMEDOUT && self->bytes.n == 5);
    put(self, "whole");
    crt_close(&self->b);
    CRT_AWAIT(self->r = crt_read_to_end(cx, self->a, &self->bytes, 100));
    CHECK(self->r == 10 && !strcmp(self->bytes.data, "part whole"));
    CRT_AWAIT(self->r = crt_read_to_end(cx, self->a, &self->bytes, 10));
    CHECK_EQ(self->r, 10);
    CRT_AWAIT(self->r = crt_read_to_end(cx, self->a, &self->bytes, 9));
    CHECK_EQ(self->r, CRT_EMSGSIZE);
    crt_bytes_drop(&self->bytes);
    CRT_AWAIT(self->r = crt_read_to_end(cx, self->a, &self->bytes, SIZE_MAX));
    CHECK(self->r == 0 && self->bytes.data && !*(char *)self->bytes.data);
    crt_bytes_drop(&self->bytes);
    CRT_AWAIT(self->r = crt_read_to_end(cx, self->a, &self->bytes, 0));
    CHECK_EQ(self->r, 0);
    crt_bytes_drop(&self->bytes);
    fail_after = 0;
    CRT_AWAIT(self->r = crt_read_to_end(cx, self->a, &self->bytes, 5));
    fail_after = -1;
    CHECK_EQ(self->r, CRT_ENOMEM);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void read_to_end_has_a_limit(void) { run(to_end_run); }

// --- copies

static crt_poll copy_run(void *frame, crt_cx *cx)
{
    static side here;
    st *self = frame;
    CRT_BEGIN(self, cx);
    self->k = live_blocks;
    CHECK_EQ(crt_duplex(cx, 30, &self->a, &self->b), 0);
    CHECK_EQ(crt_duplex(cx, 20, &self->c, &self->d), 0);
    CHECK_EQ(crt_spawn_join(cx, &self->join, send_run, &(side){.s = self->a}), 0);
    self->a = NULL;
    here = (side){.s = self->d};
    self->d = NULL;
    CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
        crt_on(cx, 0, self->x = crt_copy(cx, &self->copier, self->b, self->c), self->x == CRT_PENDING ? self->x : (crt_close(&self->c), 0)),
        crt_on(cx, 1, self->y = receive_run(&here, cx))));
    CHECK_EQ(self->x, ECHO_BYTES);
    CHECK_EQ(self->copier.count, ECHO_BYTES);
    CHECK_EQ(self->y, ECHO_BYTES);
    CRT_AWAIT(crt_join(cx, &self->join, NULL));
    crt_close(&self->b);
    // Reads that keep filling the buffer get a larger one, unless a size was asked for.
    for (self->i = 0; self->i < 3; self->i++) {
        CHECK_EQ(crt_duplex(cx, 100000, &self->a, &self->b), 0);
        CHECK_EQ(crt_duplex(cx, 100000, &self->c, &self->d), 0);
        self->copier.buffer = self->i == 1 ? 1000 : 0;
        self->data = calloc(1, 100000);
        CHECK_EQ(crt_try_write(self->a, self->data, 100000), 100000);
        if (self->i == 2) fail_after = 1;   // none to be had: it goes on with what it has
        crt_close(&self->a);
        CRT_AWAIT(self->r = crt_copy(cx, &self->copier, self->b, self->c));
        fail_after = -1;
        CHECK_EQ(self->r, 100000);
        CHECK_EQ(crt_try_read(self->d, self->data, 100000), 100000);
        CHECK_EQ(self->copier.memory.value, self->i == 0 ? 65536 : self->i == 1 ? 1000 : 65536);
        free(self->data);
        close_all(self);
    }
    // Errors of either side; bad input; no memory.
    CHECK_EQ(crt_duplex(cx, 30, &self->a, &self->b), 0);
    CHECK_EQ(crt_duplex(cx, 20, &self->c, &self->d), 0);
    CHECK_EQ(crt_try_write(self->b, "xyz", 3), 3);
    CRT_AWAIT(self->r = crt_copy(cx, &self->copier, self->a, NULL));
    CHECK_EQ(self->r, CRT_EINVAL);
    fail_after = 0;
    CRT_AWAIT(self->r = crt_copy(cx, &self->copier, self->a, self->c));
    fail_after = -1;
    CHECK_EQ(self->r, CRT_ENOMEM);
    // Given up while it waits to read: the buffer is gone, the count stays.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_copy(cx, &self->copier, self->a, self->c)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(self->copier.count, 3);
    // And while it waits to write.
    memset(self->buf, 'x', 30);
    CHECK_EQ(crt_try_write(self->b, self->buf, 30), 30);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_copy(cx, &self->copier, self->a, self->c)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(self->copier.count, 17);
    crt_close(&self->d);
    CHECK_EQ(crt_try_write(self->b, self->buf, 30), 30);
    CRT_AWAIT(self->r = crt_copy(cx, &self->copier, self->a, self->c));
    CHECK_EQ(self->r, -EPIPE);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void copy_moves_everything_and_leaves_no_buffer(void) { run(copy_run); }

// a <-> [proxy b, c] <-> d, as a TCP proxy has it.
typedef struct proxy {
    crt_frame co;
    crt_stream *b, *c;
    crt_copier_pair pair;
    crt_poll r;
} proxy;
static uint64_t proxied[2];
static crt_poll proxy_run(void *frame, crt_cx *cx)
{
    proxy *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_copy_bidirectional(cx, &self->pair, self->b, self->c));
    CRT_RETURN(self->r);
    CRT_FINALLY
        proxied[0] = self->pair.a_to_b;
        proxied[1] = self->pair.b_to_a;
        crt_close(&self->b);
        crt_close(&self->c);
    CRT_END;
}
static void start_proxy(st *self, crt_cx *cx, crt_duration idle)
{
    proxy p = {.pair.idle = idle};
    CHECK_EQ(crt_duplex(cx, 30, &self->a, &p.b), 0);
    CHECK_EQ(crt_duplex(cx, 20, &p.c, &self->d), 0);
    CHECK_EQ(crt_spawn_join(cx, &self->join, proxy_run, &p), 0);
}
static crt_poll both_ways_run(void *frame, crt_cx *cx)
{
    static side here;
    st *self = frame;
    CRT_BEGIN(self, cx);
    start_proxy(self, cx, 0);
    // Half-close goes through; the answer comes all the same.
    CRT_AWAIT(self->r = crt_write_all(cx, self->a, "question", 8));
    CRT_AWAIT(self->r = crt_shutdown(cx, self->a));
    CRT_AWAIT(self->r = crt_read_to_end(cx, self->d, &self->bytes, 100));
    CHECK(self->r == 8 && !strcmp(self->bytes.data, "question"));
    CRT_AWAIT(self->r = crt_write_all(cx, self->d, "an answer", 9));
    CRT_AWAIT(self->r = crt_read_exact(cx, self->a, self->buf, 9));
    CHECK(same(self->buf, "an answer", self->r));
    CHECK(!crt_is_finished(self->join));
    crt_close(&self->d);
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 9));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK(self->r == 0 && self->result == 0);
    CHECK(proxied[0] == 8 && proxied[1] == 9);
    close_all(self);
    // Echo through it: both directions at once, without a deadlock.
    start_proxy(self, cx, 0);
    CHECK_EQ(crt_spawn(cx, echo_run, &(echo){.s = self->d}), 0);
    CHECK_EQ(crt_spawn(cx, send_run, &(side){.s = crt_stream_clone(self->a)}), 0);
    here = (side){.s = self->a};
    self->a = self->d = NULL;
    CRT_AWAIT(self->r = receive_run(&here, cx));
    CHECK_EQ(self->r, ECHO_BYTES);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK(self->r == 0 && self->result == 0 && proxied[0] == ECHO_BYTES && proxied[1] == ECHO_BYTES);
    // One side fails: so does the whole.
    start_proxy(self, cx, 0);
    crt_close(&self->d);
    CRT_AWAIT(self->r = crt_write_all(cx, self->a, "x", 1));
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK(self->r == 0 && self->result == -EPIPE);
    close_all(self);
    // Idle: counted from the last byte, either way.
    start_proxy(self, cx, CRT_MS(100));
    self->t0 = crt_now(cx);
    for (self->i = 0; self->i < 4; self->i++) {
        CRT_AWAIT(crt_sleep(cx, CRT_MS(60)));
        CRT_AWAIT(self->r = crt_write_all(cx, self->i & 1 ? self->a : self->d, "x", 1));
        CHECK_EQ(self->r, 1);
    }
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK(self->r == 0 && self->result == CRT_ETIMEDOUT);
    CHECK(crt_now(cx) - self->t0 >= CRT_MS(340) && crt_now(cx) - self->t0 < CRT_MS(350));
    CHECK(proxied[0] == 2 && proxied[1] == 2);
    close_all(self);
    // Aborted, with bytes under way both ways.
    start_proxy(self, cx, CRT_SEC(5));
    CHECK_EQ(crt_try_write(self->a, "0123456789012345678901234", 25), 25);
    CHECK_EQ(crt_try_write(self->d, "0123456789", 10), 10);
    CRT_YIELD();
    crt_abort(self->join);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK_EQ(self->r, CRT_ECANCELED);
    CRT_AWAIT(self->r = crt_copy_bidirectional(cx, &self->pair, NULL, self->a));
    CHECK_EQ(self->r, CRT_EINVAL);
    for (self->i = 0; self->i < 2; self->i++) {
        fail_after = self->i;
        CRT_AWAIT(self->r = crt_copy_bidirectional(cx, &self->pair, self->d, self->a));
        fail_after = -1;
        CHECK_EQ(self->r, CRT_ENOMEM);
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void copy_bidirectional_is_a_proxy(void) { run(both_ways_run); }
// The same over sockets, and lines, frames and half-closes with it.
static crt_poll over_sockets_run(void *frame, crt_cx *cx)
{
    static side here;
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    CHECK_EQ(crt_stream_pair(cx, &self->c, &self->d), 0);
    CHECK_EQ(crt_spawn_join(cx, &self->join, proxy_run, &(proxy){.b = self->b, .c = self->c}), 0);
    self->b = self->c = NULL;
    CHECK_EQ(crt_spawn(cx, echo_run, &(echo){.s = self->d}), 0);
    self->d = NULL;
    crt_reader_init(&self->in, self->a, NULL, 100);
    crt_writer_init(&self->out, self->a, NULL, 100);
    CRT_AWAIT(self->r = crt_writer_write_all(cx, &self->out, "a line\n", 7));
    CRT_AWAIT(self->r = crt_framed_write(cx, &self->out, NULL, "a frame", 7));
    CRT_AWAIT(self->r = crt_writer_flush(cx, &self->out));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 0, &self->line));
    CHECK(self->r == 6 && !strcmp(self->line, "a line"));
    CRT_AWAIT(self->r = crt_framed_read(cx, &self->in, NULL, &self->data));
    CHECK(same(self->data, "a frame", self->r));
    CHECK_EQ(crt_spawn(cx, send_run, &(side){.s = crt_stream_clone(self->a)}), 0);
    here = (side){.s = self->a};
    self->a = NULL;
    CRT_AWAIT(self->r = receive_run(&here, cx));
    CHECK_EQ(self->r, ECHO_BYTES);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK(self->r == 0 && self->result == 0);
    CHECK(proxied[0] == ECHO_BYTES + 18 && proxied[1] == ECHO_BYTES + 18);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void streams_over_sockets(crt_runtime *rt) { run_on(rt, over_sockets_run); }
// Neither direction can keep the other from running, however busy it is.
static crt_poll endless_run(void *frame, crt_cx *cx)
{
    side *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->n = crt_write(cx, self->s, self->buf, sizeof self->buf));
        if (self->n < 0) break;
    }
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
static crt_poll devour_run(void *frame, crt_cx *cx)
{
    side *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->n = crt_read(cx, self->s, self->buf, sizeof self->buf));
        if (self->n <= 0) break;
        self->at += (size_t)self->n;
    }
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
static crt_poll fair_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    start_proxy(self, cx, 0);
    CHECK_EQ(crt_spawn_join(cx, &self->join2, endless_run, &(side){.s = crt_stream_clone(self->a)}), 0);
    CHECK_EQ(crt_spawn(cx, devour_run, &(side){.s = crt_stream_clone(self->d)}), 0);
    for (self->i = 0; self->i < 50; self->i++) {
        CRT_AWAIT(self->r = crt_write(cx, self->d, "ping", 4));
        CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 4));
        CHECK_EQ(self->r, 4);
    }
    crt_abort(self->join2);
    CRT_AWAIT(crt_join(cx, &self->join2, NULL));
    CRT_AWAIT(self->r = crt_shutdown(cx, self->a));
    CRT_AWAIT(self->r = crt_shutdown(cx, self->d));
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK(self->r == 0 && self->result == 0);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void copy_bidirectional_is_fair(void) { run(fair_run); }

// A shutdown that does not wait ends tasks by force: no CRT_FINALLY runs, and the
// buffers of a copy are freed all the same.
static crt_poll stuck_run(void *frame, crt_cx *cx)
{
    proxy *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_copy_bidirectional(cx, &self->pair, self->b, self->c));
    CRT_FINALLY
        for (;;) CRT_AWAIT(crt_sleep(cx, CRT_SEC(3600)));
    CRT_END;
}
static crt_poll leave_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 30, &self->a, &self->b), 0);
    CHECK_EQ(crt_spawn(cx, stuck_run, &(proxy){.b = self->a, .c = self->b, .pair.idle = CRT_SEC(9)}), 0);
    CRT_YIELD();
    CRT_END;
}
static void copies_leave_nothing_when_ended_by_force(void)
{
    int before = live_blocks;
    st frame = {0};
    crt_config c = {.flavor = CRT_CURRENT_THREAD, .log.func = test_log};
    crt_runtime *rt;
    test_log_clear();
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    CHECK_EQ(crt_block_on(rt, leave_run, &frame), 0);
    CHECK_EQ(crt_runtime_shutdown(rt, CRT_MS(1)), 1);
    crt_runtime_drop(&rt);
    crt_close(&frame.a);   // the task had no chance to
    crt_close(&frame.b);
    CHECK_EQ(live_blocks, before);
}

// --- frames

static crt_poll frames_run(void *frame, crt_cx *cx)
{
    static const struct {
        crt_framed f;
        const char *in;
        size_t n;
        crt_poll r[3];
        const char *out[2];
    } cases[] = {
        {{0}, "\0\0\0\5hello\0\0\0\0\0\0\0\1x", 18, {5, 0, 1}, {"hello", ""}},
        {{.length_field_length = 2}, "\0\13Hello world\0\1y", 16, {11, 1, CRT_ECLOSED}, {"Hello world", "y"}},
        {{.length_field_length = 2, .little_endian = true}, "\3\0abc", 5, {3, CRT_ECLOSED}, {"abc"}},
        {{.length_field_length = 1}, "\1a\2bc\3de", 8, {1, 2, CRT_EEOF}, {"a", "bc"}},
        {{.length_field_length = 3}, "\0\0\2ab\0\0", 7, {2, CRT_EEOF}, {"ab"}},
        {{.length_field_length = 8}, "\0\0\0\0\0\0\0\2ab", 10, {2, CRT_ECLOSED}, {"ab"}},
        {{.length_field_length = 8}, "\377\377\377\377\377\377\377\377ab", 10, {CRT_EMSGSIZE, CRT_EMSGSIZE}, {0}},
        // The head kept: the adjustment counts it.
        {{.length_field_length = 2, .length_adjustment = 2, .num_skip = CRT_FRAMED_KEEP}, "\0\5hello", 7, {7, CRT_ECLOSED}, {"\0\5hello"}},
        // The field counts itself.
        {{.length_field_length = 2, .length_adjustment = -2}, "\0\7hello\0\1", 9, {5, CRT_EPROTO}, {"hello"}},
        // A head of one byte, the field, one byte more; all but the last skipped.
        {{.length_field_offset = 1, .length_field_length = 2, .length_adjustment = 1}, "\312\0\5\376hello", 9, {6, CRT_ECLOSED}, {"\376hello"}},
        {{.length_field_offset = 1, .length_field_length = 2, .length_adjustment = -3, .num_skip = 3}, "\312\0\10hello", 8, {5, CRT_ECLOSED}, {"hello"}},
        {{.max_frame_length = 5}, "\0\0\0\5hello\0\0\0\6hello!", 19, {5, CRT_EMSGSIZE}, {"hello"}},
        // A frame that ends inside its own head would never get anywhere.
        {{.length_field_length = 2, .num_skip = CRT_FRAMED_KEEP}, "\0\0\0\0", 4, {CRT_EPROTO}, {0}},
        {{.length_field_length = 9}, "x", 1, {CRT_EINVAL}, {0}},
        {{.length_field_offset = 65}, "x", 1, {CRT_EINVAL}, {0}},
        {{.num_skip = -2}, "x", 1, {CRT_EINVAL}, {0}},
    };
    st *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < (int)(sizeof cases / sizeof *cases); self->i++)
        for (self->n = 0; self->n <= cases[self->i].n; self->n++) {   // cut in two everywhere
            CHECK_EQ(crt_duplex(cx, 100, &self->a, &self->b), 0);
            crt_reader_init(&self->in, self->a, NULL, 8);
            (void)crt_try_write(self->b, cases[self->i].in, self->n);
            CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(1), crt_framed_read(cx, &self->in, &cases[self->i].f, &self->data)));
            (void)crt_try_write(self->b, cases[self->i].in + self->n, cases[self->i].n - self->n);
            crt_close(&self->b);
            for (self->k = 0; self->k < 3 && cases[self->i].r[self->k]; self->k++) {
                if (self->k || self->r == CRT_ETIMEDOUT)
                    CRT_AWAIT(self->r = crt_framed_read(cx, &self->in, &cases[self->i].f, &self->data));
                if (self->r != cases[self->i].r[self->k])
                    fprintf(stderr, "case %d cut at %zu, frame %d\n", self->i, self->n, self->k);
                CHECK_EQ(self->r, cases[self->i].r[self->k]);
                CHECK((self->r >= 0) == (self->data != NULL));
                if (self->r > 0 && self->k < 2)
                    CHECK(!memcmp(self->data, cases[self->i].out[self->k], (size_t)self->r));
                if (self->r < 0) break;
            }
            crt_reader_drop(&self->in);
            crt_close(&self->a);
        }
    // An empty frame is no end.
    CHECK_EQ(crt_duplex(cx, 100, &self->a, &self->b), 0);
    crt_reader_init(&self->in, self->a, NULL, 8);
    CHECK_EQ(crt_try_write(self->b, "\0\0\0\0", 4), 4);
    CRT_AWAIT(self->r = crt_framed_read(cx, &self->in, NULL, &self->data));
    CHECK(self->r == 0 && self->data);
    // What was promised takes no memory before it comes; too much is refused at once.
    CHECK_EQ(crt_try_write(self->b, "\0\200\0\0abcdefgh", 12), 12);   // 8 MiB exactly
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(1), crt_framed_read(cx, &self->in, NULL, &self->data)));
    CHECK(self->r == CRT_ETIMEDOUT && self->in.capacity < 100 && crt_reader_buffered(&self->in) == 12);
    crt_reader_consume(&self->in, 12);
    CHECK_EQ(crt_try_write(self->b, "\0\200\0\1", 4), 4);
    CRT_AWAIT(self->r = crt_framed_read(cx, &self->in, NULL, &self->data));
    CHECK(self->r == CRT_EMSGSIZE && self->in.capacity < 100);
    // The caller's buffer is another limit.
    crt_reader_drop(&self->in);
    crt_reader_init(&self->in, self->a, self->buf, 10);
    CHECK_EQ(crt_try_write(self->b, "\0\0\0\6abcdef", 10), 10);
    CRT_AWAIT(self->r = crt_framed_read(cx, &self->in, NULL, &self->data));
    CHECK_EQ(self->r, CRT_EMSGSIZE);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void frames_of_every_shape(void) { run(frames_run); }

// What is written is read back, with each shape and many lengths.
static crt_poll round_trip_run(void *frame, crt_cx *cx)
{
    static const crt_framed shapes[] = {
        {0},
        {.length_field_length = 1, .max_frame_length = 255},
        {.length_field_length = 2, .little_endian = true},
        {.length_field_length = 3, .length_adjustment = -3},
        {.length_field_offset = 5, .length_field_length = 8, .length_adjustment = -13},
        {.length_field_offset = 2, .length_field_length = 2, .length_adjustment = -7},
    };
    static const size_t lengths[] = {0, 1, 2, 9, 100, 255};
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 7, &self->a, &self->b), 0);
    crt_reader_init(&self->in, self->a, NULL, 16);
    crt_writer_init(&self->out, self->b, NULL, 9);
    for (self->i = 0; self->i < (int)(sizeof shapes / sizeof *shapes); self->i++)
        for (self->k = 0; self->k < 6; self->k++) {
            memset(self->buf2, 'a' + self->k, sizeof self->buf2);
            self->x = (crt_poll)lengths[self->k];
            self->n = 0;
            CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
                crt_on(cx, 0, self->n ? crt_writer_flush(cx, &self->out)
                              : (self->x = crt_framed_write(cx, &self->out, &shapes[self->i], self->buf2, (size_t)self->x)) == CRT_PENDING ? CRT_PENDING
                              : (self->n = 1, crt_writer_flush(cx, &self->out))),
                crt_on(cx, 1, self->y = crt_framed_read(cx, &self->in, &shapes[self->i], &self->data))));
            CHECK_EQ(self->x, lengths[self->k]);
            CHECK_EQ(self->y, lengths[self->k]);
            CHECK(self->data && !memcmp(self->data, self->buf2, lengths[self->k]));
        }
    // Too long; a length that the field cannot hold.
    CRT_AWAIT(self->r = crt_framed_write(cx, &self->out, &(crt_framed){.max_frame_length = 5}, self->buf2, 6));
    CHECK_EQ(self->r, CRT_EMSGSIZE);
    CRT_AWAIT(self->r = crt_framed_write(cx, &self->out, NULL, self->buf2, SIZE_MAX));
    CHECK_EQ(self->r, CRT_EMSGSIZE);
    CRT_AWAIT(self->r = crt_framed_write(cx, &self->out, &(crt_framed){.length_field_length = 1}, self->buf2, 256));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_framed_write(cx, &self->out, &(crt_framed){.length_adjustment = 5}, self->buf2, 4));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_framed_write(cx, &self->out, &(crt_framed){.length_field_length = 9}, self->buf2, 4));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_framed_write(cx, &self->out, NULL, NULL, 4));
    CHECK_EQ(self->r, CRT_EINVAL);
    CHECK_EQ(crt_writer_buffered(&self->out), 0);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void frames_come_back_as_written(void) { run(round_trip_run); }

// --- mock

// What the tests below try out: asks, hears the answer.
static crt_poll mock_run(void *frame, crt_cx *cx)
{
    static const crt_mock_step script[] = {
        crt_mock_write("PING\r\n", 6), crt_mock_wait(CRT_MS(50)), crt_mock_read("PONG\r\n", 6),
        crt_mock_read("more", 4), crt_mock_write("late", 4), crt_mock_wait(CRT_MS(5)), crt_mock_wait(CRT_SEC(5)),
        crt_mock_read_error(CRT_ECONNRESET), crt_mock_write_error(-ENOBUFS), crt_mock_read("end", 3),
    };
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_mock_new(cx, "redis", script, 10, &self->a), 0);
    self->b = crt_stream_clone(self->a);
    CHECK_EQ(crt_mock_left(self->a), 7);
    self->t0 = crt_now(cx);
    // A read waits for the write that comes before it, and for the delay.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(1), crt_read(cx, self->a, self->buf, 100)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
        crt_on(cx, 0, self->x = crt_read(cx, self->a, self->buf, 3)),
        crt_on(cx, 1, self->y = crt_write_all(cx, self->b, "PING\r\n", 6))));
    CHECK(self->y == 6 && same(self->buf, "PON", self->x));
    CHECK_EQ(crt_now(cx) - self->t0, CRT_MS(1050));
    // A write may come before what is there to be read, and in pieces.
    CRT_AWAIT(self->r = crt_write(cx, self->a, "la", 2));
    CHECK_EQ(self->r, 2);
    CHECK_EQ(crt_mock_left(self->a), 6);
    CRT_AWAIT(self->r = crt_write(cx, self->a, "te", 2));
    CHECK_EQ(self->r, 2);
    CHECK_EQ(crt_try_peek(self->a, self->buf, 2), 2);
    CHECK_EQ(crt_try_readv(self->a, (crt_iovec[]){{self->buf, 3}, {self->buf + 10, 10}}, 2), 3);   // a step at a time
    CHECK_EQ(crt_try_read(self->a, self->buf, 100), 4);
    CHECK_EQ(crt_try_read(self->a, self->buf, 100), CRT_EAGAIN);
    CHECK_EQ(crt_try_write(self->a, "x", 1), CRT_EAGAIN);   // the delay is before it
    self->t0 = crt_now(cx);
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 100));
    CHECK_EQ(self->r, CRT_ECONNRESET);
    CHECK_EQ(crt_now(cx) - self->t0, CRT_MS(5005));
    CRT_AWAIT(self->r = crt_write_all(cx, self->a, "any", 3));
    CHECK_EQ(self->r, -ENOBUFS);
    CHECK_EQ(crt_mock_left(self->a), 1);
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 100));
    CHECK(same(self->buf, "end", self->r));
    CHECK_EQ(crt_mock_left(self->a), 0);
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 100));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_write(cx, self->a, "x", 1));
    CHECK_EQ(self->r, -EPIPE);
    CHECK_EQ(crt_mock_left(self->b), 0);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void mock_follows_its_script(void)
{
    run(mock_run);
    CHECK_EQ(test_log_length, 0);
}
static crt_poll wrong_run(void *frame, crt_cx *cx)
{
    static const crt_mock_step script[] = {crt_mock_read("hi", 2), crt_mock_write("HELO \"a\"\r\n\001", 11), crt_mock_read("x", 1)};
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_mock_new(cx, "smtp", script, 3, &self->a), 0);
    CRT_AWAIT(self->r = crt_write_all(cx, self->a, "HELO b", 6));
    CHECK_EQ(self->r, CRT_EPROTO);
    CHECK(test_log_has("mock smtp: step 2 of 3 expected the write \"HELO \\\"a\\\"\\r\\n\\001\", but \"HELO b\" came; byte 5 differs"));
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 2));
    CHECK_EQ(self->r, CRT_EPROTO);
    CHECK_EQ(crt_mock_left(self->a), CRT_EPROTO);
    crt_close(&self->a);
    CHECK(!test_log_has("closed"));   // said once
    // More than was expected.
    CHECK_EQ(crt_mock_new(cx, NULL, script, 2, &self->a), 0);
    CRT_AWAIT(self->r = crt_write_all(cx, self->a, "HELO \"a\"\r\n\001and more", 19));
    CHECK_EQ(self->r, CRT_EPROTO);
    CHECK(test_log_has("mock stream: no write was expected any more, but \"and more\" came"));
    crt_close(&self->a);
    // Less: at the close. A task that sleeps for it goes as well.
    CHECK_EQ(crt_mock_new(cx, "quiet", &script[1], 2, &self->a), 0);
    CHECK_EQ(crt_try_write(self->a, "HELO ", 5), 5);
    crt_close(&self->a);
    CHECK(test_log_has("mock quiet: closed with 2 of 2 steps left; the next is number 1, write \"\\\"a\\\"\\r\\n\\001\""));
    // An unread error; half-closed; a reader that waits is ended by the close.
    CHECK_EQ(crt_mock_new(cx, "e", &(crt_mock_step)crt_mock_read_error(CRT_ECONNRESET), 1, &self->a), 0);
    CRT_AWAIT(self->r = crt_shutdown(cx, self->a));
    CHECK(self->r == 0 && crt_try_write(self->a, "x", 1) == -EPIPE);
    crt_close(&self->a);
    CHECK(test_log_has("mock e: closed with 1 of 1 steps left; the next is number 1, read error connection reset by peer"));
    CHECK_EQ(crt_mock_new(cx, "w", &(crt_mock_step)crt_mock_wait(CRT_SEC(1000)), 1, &self->a), 0);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
        crt_on(cx, 0, self->x = crt_read(cx, self->a, self->buf, 4)),
        crt_on(cx, 1, (crt_close(&self->a), 0))));
    CHECK_EQ(self->x, CRT_ECLOSED);
    CHECK(!test_log_has("mock w"));   // a wait is nothing unmet
    // A wait at the end is one before the end; a clock that cannot be started.
    CHECK_EQ(crt_mock_new(cx, "w", &(crt_mock_step)crt_mock_wait(CRT_MS(7)), 1, &self->a), 0);
    self->t0 = crt_now(cx);
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 4));
    CHECK(self->r == 0 && crt_now(cx) - self->t0 == CRT_MS(7));
    crt_close(&self->a);
    crt__atomic_store(&cx->rt->closing, 1, CRT__RELEASE);
    self->k = crt_mock_new(cx, "w", &(crt_mock_step)crt_mock_wait(CRT_MS(7)), 1, &self->a);
    crt__atomic_store(&cx->rt->closing, 0, CRT__RELEASE);
    CHECK(self->k == 0 && crt_try_read(self->a, self->buf, 1) == CRT_ESHUTDOWN);
    crt_close(&self->a);
    // An empty script is a peer that has gone; bad steps.
    CHECK_EQ(crt_mock_new(cx, "none", NULL, 0, &self->a), 0);
    CHECK(crt_try_read(self->a, self->buf, 1) == 0 && crt_try_write(self->a, "x", 1) == -EPIPE);
    crt_close(&self->a);
    CHECK_EQ(crt_mock_new(cx, "bad", NULL, 1, &self->a), CRT_EINVAL);
    CHECK_EQ(crt_mock_new(cx, "bad", &(crt_mock_step)crt_mock_read("x", 0), 1, &self->a), CRT_EINVAL);
    CHECK_EQ(crt_mock_new(cx, "bad", &(crt_mock_step)crt_mock_write(NULL, 3), 1, &self->a), CRT_EINVAL);
    CHECK_EQ(crt_mock_new(cx, "bad", &(crt_mock_step)crt_mock_read_error(CRT_EAGAIN), 1, &self->a), CRT_EINVAL);
    CHECK_EQ(crt_mock_new(cx, "bad", &(crt_mock_step)crt_mock_wait(-1), 1, &self->a), CRT_EINVAL);
    CHECK_EQ(crt_mock_new(cx, "bad", &(crt_mock_step){0}, 1, &self->a), CRT_EINVAL);
    CHECK(!self->a);
    CHECK_EQ(crt_mock_left(NULL), CRT_EINVAL);
    CHECK_EQ(crt_duplex(cx, 1, &self->a, &self->b), 0);
    CHECK_EQ(crt_mock_left(self->a), CRT_EINVAL);
    for (self->i = 0; self->i < 3; self->i++) {
        fail_after = self->i;
        self->k = crt_mock_new(cx, "m", script, 3, &self->c);
        fail_after = -1;
        CHECK(self->k == 0 || self->k == CRT_ENOMEM);
        CHECK((self->k == 0) == (self->c != NULL));
        crt_close(&self->c);
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void mock_tells_what_went_wrong(void) { run(wrong_run); }
// A wait needs a timer: without one the stream says so.
static crt_poll no_timer_run(void *frame, crt_cx *cx)
{
    static const crt_mock_step script[] = {crt_mock_read("x", 1), crt_mock_wait(CRT_MS(5)), crt_mock_wait(CRT_MS(5)), crt_mock_read("y", 1)};
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_mock_new(cx, "m", script, 4, &self->a), 0);
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 9));
    CHECK_EQ(self->r, 1);
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 9));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void mock_without_timers(crt_runtime *rt) { run_on(rt, no_timer_run); }

// One slot, two readers: the wait for the one is over, and the call for the other begins as any does.
BODY(a_slot_of_another_reader)
{
    POLLS;
    crt_stream *pair[2][2];
    crt_reader in[2];
    char buf[8];
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(crt_duplex(cx, 8, &pair[i][0], &pair[i][1]), 0);
        crt_reader_init(&in[i], pair[i][0], NULL, 0);
    }
    CHECK_EQ(AT(s[0], crt_reader_read_exact(cx, &in[0], buf, 4)), PENDING);
    CHECK_EQ(crt_try_write(pair[1][1], "xyz", 3), 3);
    CHECK(AT(s[0], crt_reader_read_exact(cx, &in[1], buf, 3)) == 3 && !memcmp(buf, "xyz", 3));
    CHECK_EQ(crt_try_write(pair[0][1], "abcd", 4), 4);
    CHECK(AT(s[0], crt_reader_read_exact(cx, &in[0], buf, 4)) == 4 && !memcmp(buf, "abcd", 4));
    for (int i = 0; i < 2; i++) {
        crt_reader_drop(&in[i]);
        for (int k = 0; k < 2; k++) crt_close(&pair[i][k]);
    }
}

// --- standard streams: descriptors 0 and 1 are replaced for the length of a test

typedef struct swapped {
    int fd, kept, other;   // the end that the test has
    int threads;
} swapped;
#ifdef _WIN32   // there they are handles of the process: `kept` is what stands in
static HANDLE were[2];
static int standard_fd(const swapped *s) { return s->kept; }
static void swap_to(int fd, HANDLE h) { SetStdHandle(fd ? STD_OUTPUT_HANDLE : STD_INPUT_HANDLE, h); }
static swapped swap_in(int fd, int with, int other)
{
    swapped s = {fd, with, other, test_thread_count()};
    were[fd] = GetStdHandle(fd ? STD_OUTPUT_HANDLE : STD_INPUT_HANDLE);
    swap_to(fd, (HANDLE)_get_osfhandle(with));
    return s;
}
static void swap_back(swapped *s)
{
    swap_to(s->fd, were[s->fd]);
    close(s->kept);
    s->kept = -1;
}
#define test_plain_pipe(p) _pipe((p), 16384, _O_BINARY)
#else
static int standard_fd(const swapped *s) { return s->fd; }
static swapped swap_in(int fd, int with, int other)
{
    swapped s = {fd, dup(fd), other, test_thread_count()};
    CHECK(dup2(with, fd) == fd);
    close(with);
    return s;
}
static void swap_back(swapped *s)
{
    if (s->kept >= 0) dup2(s->kept, s->fd);
    else close(s->fd);
    if (s->kept >= 0) close(s->kept);
}
#define test_plain_pipe(p) pipe(p)
#endif
static swapped swap_pipe(int fd)
{
    int p[2] = {-1, -1};
    CHECK_EQ(test_plain_pipe(p), 0);
    return fd ? swap_in(fd, p[1], p[0]) : swap_in(fd, p[0], p[1]);
}
// Back again; the thread has gone, or goes.
static void swap_out(swapped *s)
{
    if (s->other >= 0) close(s->other);
    swap_back(s);
    for (int i = 0; i < 5000 && test_thread_count() > s->threads; i++) test_pause_us(1000);
    CHECK(test_thread_count() <= s->threads);   // one that had been about to end may have ended since
}
static int pipe_end, input_fd;
static bool feed(const char *text) { return write(pipe_end, text, strlen(text)) == (ssize_t)strlen(text); }

static crt_poll stdin_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stdin(cx, &self->a), 0);
    CHECK_EQ(crt_stream_fd(self->a), -1);
    crt_reader_init(&self->in, self->a, NULL, 0);
    CHECK(feed("one\ntwo\nthr"));
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 100, &self->line));
    CHECK(self->r == 3 && !strcmp(self->line, "one"));
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 100, &self->line));
    CHECK(self->r == 3 && !strcmp(self->line, "two"));
    // Shared with others: it stays as it was.
#ifdef F_GETFL
    CHECK_EQ(fcntl(0, F_GETFL) & O_NONBLOCK, 0);
#endif
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(20), crt_reader_read_line(cx, &self->in, 100, &self->line)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK(feed("ee\nrest"));
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 100, &self->line));
    CHECK(self->r == 5 && !strcmp(self->line, "three"));
    // What came for a read that was given up is there for the next, through a new handle.
    crt_reader_consume(&self->in, 100);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(20), crt_read(cx, self->a, self->buf, 100)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK(feed("kept"));
    for (;;) {   // the thread has it
        crt__lock(&crt__stdios[0].lock);
        self->k = crt__stdios[0].count > 0;
        crt__unlock(&crt__stdios[0].lock);
        if (self->k) break;
        CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    }
    crt_close(&self->a);
    CHECK_EQ(crt_stdin(cx, &self->a), 0);
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 100));
    CHECK(same(self->buf, "kept", self->r));
    // No more is taken than was asked for: the rest is for others.
    CHECK(feed("mine,theirs"));
    CRT_AWAIT(self->r = crt_read_exact(cx, self->a, self->buf, 5));
    CHECK(same(self->buf, "mine,", self->r));
    CHECK_EQ(read(input_fd, self->buf, 100), 6);
    // Readiness; the wrong direction; the end.
    CHECK_EQ(crt_try_read(self->a, self->buf, 100), CRT_EAGAIN);
    CHECK(feed("x"));
    CRT_AWAIT(self->r = crt_readable(cx, self->a));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_try_read(self->a, self->buf, 100), 1);
    CRT_AWAIT(self->r = crt_write(cx, self->a, "x", 1));
    CHECK_EQ(self->r, -EBADF);
    CRT_AWAIT(self->r = crt_shutdown(cx, self->a));
    CHECK_EQ(self->r, -EBADF);
    // A handle through which no more is to be read; the others go on.
    CHECK_EQ(crt_stdin(cx, &self->c), 0);
    CRT_AWAIT(self->r = crt_shutdown_read(cx, self->c));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_read(cx, self->c, self->buf, 1));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_try_read(self->a, self->buf, 100), CRT_EAGAIN);
    self->b = crt_stream_clone(self->a);
    CHECK(feed("look"));
    CRT_AWAIT(self->r = crt_peek(cx, self->a, self->buf, 4));
    CHECK(same(self->buf, "look", self->r));
    CRT_AWAIT(self->r = crt_read_exact(cx, self->a, self->buf, 4));
    CHECK(same(self->buf, "look", self->r));
    CRT_AWAIT(self->r = crt_flush(cx, self->a));
    CHECK_EQ(self->r, 0);
    close(pipe_end);
    for (self->i = 0; self->i < 3; self->i++) {
        CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 100));
        CHECK_EQ(self->r, 0);
    }
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void standard_input(crt_runtime *rt)
{
    swapped s = swap_pipe(0);
    pipe_end = s.other;
    input_fd = standard_fd(&s);
    s.other = -1;
    run_on(rt, stdin_run);
    swap_out(&s);
}
static crt_poll file_input_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stdin(cx, &self->a), 0);
    CRT_AWAIT(self->r = crt_read_to_end(cx, self->a, &self->bytes, 1 << 20));
    CHECK_EQ(self->r, 100000);
    for (self->i = 0; self->i < 100000; self->i++)
        if (((char *)self->bytes.data)[self->i] != (char)self->i) break;
    CHECK_EQ(self->i, 100000);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void standard_input_from_a_file(void)
{
    FILE *f = tmpfile();
    for (int i = 0; i < 100000; i++) fputc((char)i, f);
    fflush(f);
    lseek(fileno(f), 0, SEEK_SET);
    swapped s = swap_in(0, dup(fileno(f)), -1);
    run(file_input_run);
    swap_out(&s);
    fclose(f);
}
// A read that waits for a terminal does not hold the end of the runtime up.
static crt_poll wait_for_input_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stdin(cx, &self->a), 0);
    CHECK_EQ(crt_spawn(cx, echo_run, &(echo){.s = self->a}), 0);
    self->a = NULL;
    CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
    CRT_END;
}
static void input_that_does_not_come_holds_nothing_up(void)
{
    for (int flavor = 0; flavor < 2; flavor++) {
        swapped s = swap_pipe(0);
        crt_runtime *rt;
        crt_config c = {.flavor = flavor, .worker_threads = 1};
        CHECK_EQ(crt_runtime_new(&c, &rt), 0);
        run_on(rt, wait_for_input_run);
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_FOREVER), 0);
        crt_runtime_drop(&rt);
        swap_out(&s);
    }
}

#ifndef _WIN32
// poll() says that there is something, and another process has it: that is no error, and is waited for again.
static void input_that_another_has_taken(void)
{
    swapped s = swap_pipe(0);
    crt__stdio *io = &crt__stdios[0];
    CHECK_EQ(fcntl(0, F_SETFL, O_NONBLOCK), 0);
    crt__lock(&io->lock);   // the thread that a test before had may have just gone
    bool ended = io->ended;   // what it has left
    io->wanted = 5;
    crt__unlock(&io->lock);
    crt__stdio_transfer(io);
    CHECK(io->wanted == 5 && !io->error && io->ended == ended && !io->count);
    io->wanted = 0;
    swap_out(&s);
}
#endif

enum { OUTPUT = 100000 };
static size_t slow_has;   // atomic
static void *slow_reader(void *arg)
{
    size_t at = 0;
    char buf[1000];
    int fd = *(int *)arg;
    for (ssize_t n; (n = read(fd, buf, sizeof buf)) > 0; at += (size_t)n) {
        for (ssize_t i = 0; i < n; i++)
            if ((unsigned char)buf[i] != byte_at(at + (size_t)i)) return (void *)1;
        __atomic_store_n(&slow_has, at + (size_t)n, __ATOMIC_SEQ_CST);
    }
    return (void *)at;
}
static crt_poll output(st *self, crt_cx *cx, crt_stream *s)
{
    while (self->n < OUTPUT) {
        unsigned char buf[500];
        size_t most = crt__min(sizeof buf, OUTPUT - self->n);
        for (size_t i = 0; i < most; i++) buf[i] = byte_at(self->n + i);
        crt_poll k = crt_write(cx, s, buf, most);
        if (k < 0) return k;
        self->n += (size_t)k;
    }
    return 0;
}
static crt_poll stdout_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stdout(cx, &self->a), 0);
    CRT_AWAIT(self->r = crt_flush(cx, self->a));   // nothing yet
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = output(self, cx, self->a));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_flush(cx, self->a));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt__stdios[1].count, 0);
#ifdef F_GETFL
    CHECK_EQ(fcntl(1, F_GETFL) & O_NONBLOCK, 0);
#endif
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 1));
    CHECK_EQ(self->r, -EBADF);
    CRT_AWAIT(self->r = crt_shutdown(cx, self->a));
    CHECK(self->r == 0 && crt_try_write(self->a, "x", 1) == -EPIPE);
#ifndef _WIN32
    CHECK(fcntl(1, F_GETFD) >= 0);   // descriptor 1 is not ours to close
#endif
    CRT_AWAIT(self->r = crt_flush(cx, NULL));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void standard_output(crt_runtime *rt)
{
    pthread_t reader;
    void *got;
    swapped s = swap_pipe(1);
    int mine = s.other;   // the thread reads it for as long as it lives
    s.threads--;          // pthread_create below is ours
    CHECK_EQ(pthread_create(&reader, NULL, slow_reader, &mine), 0);
    run_on(rt, stdout_run);
    s.threads++;
    s.other = -1;
    swap_out(&s);
    pthread_join(reader, &got);
    close(mine);
    CHECK_EQ((intptr_t)got, OUTPUT);
}
// Nobody reads: an error, once it is known, and no signal.
static crt_poll broken_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stdout(cx, &self->a), 0);
    CRT_AWAIT(self->r = crt_write_all(cx, self->a, "x", 1));
    CHECK_EQ(self->r, 1);
    CRT_AWAIT(self->r = crt_flush(cx, self->a));
    CHECK_EQ(self->r, -EPIPE);
    CRT_AWAIT(self->r = crt_flush(cx, self->a));
    CHECK_EQ(self->r, 0);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void standard_output_that_nobody_reads(void)
{
    swapped s = swap_pipe(1);
    close(s.other);
    s.other = -1;
    run(broken_run);
    swap_out(&s);
}
// A full pipe: a flush waits and can be given up; what is buffered gets there later.
static crt_poll full_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stdout(cx, &self->a), 0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(50), output(self, cx, self->a)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_flush(cx, self->a)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
        crt_on(cx, 0, self->x = crt_flush(cx, self->a)),
        crt_on(cx, 1, (crt_close(&self->a), 0))));
    CHECK_EQ(self->x, CRT_ECLOSED);
    CRT_FINALLY
        self->k = (int)self->n;
        close_all(self);
        CRT_RETURN((crt_poll)self->n);
    CRT_END;
}
static void standard_output_into_a_full_pipe(void)
{
    static st frame;
    crt_runtime *rt;
    crt_config c = {.flavor = CRT_CURRENT_THREAD};
    pthread_t reader;
    void *got;
    swapped s = swap_pipe(1);
    memset(&frame, 0, sizeof frame);
#ifdef F_SETPIPE_SZ
    CHECK_EQ(fcntl(s.other, F_SETPIPE_SZ, 4096), 4096);
#endif
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    crt_poll n = crt_block_on(rt, full_run, &frame);
    crt_runtime_drop(&rt);   // waits for no output
    CHECK(n > 16000 && n < OUTPUT);
    int mine = s.other;
    s.other = -1;
    __atomic_store_n(&slow_has, 0, __ATOMIC_SEQ_CST);
    CHECK_EQ(pthread_create(&reader, NULL, slow_reader, &mine), 0);
    for (int i = 0; i < 5000 && __atomic_load_n(&slow_has, __ATOMIC_SEQ_CST) != (size_t)n; i++) test_pause_us(1000);
    swap_out(&s);   // or the reader does not see the end
    pthread_join(reader, &got);
    close(mine);
    CHECK_EQ((intptr_t)got, n);
}
#ifndef _WIN32   // no fork; test_process's children write there
// exit() waits for what was written.
static crt_poll exit_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stdout(cx, &self->a), 0);
    CRT_AWAIT(self->r = output(self, cx, self->a));
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void output_is_written_before_the_process_ends(void)
{
    int p[2], status = -1;
    char buf[1000];
    size_t at = 0;
    bool right = true;
    CHECK_EQ(pipe(p), 0);
    pid_t child = fork();
    if (!child) {
        static st frame;
        crt_runtime *rt;
        dup2(p[1], 1);
        close(p[0]);
        close(p[1]);
        if (crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt)) _exit(2);
        if (crt_block_on(rt, exit_run, &frame)) _exit(3);
        crt_runtime_drop(&rt);
        exit(0);
    }
    close(p[1]);
    for (ssize_t n; (n = read(p[0], buf, sizeof buf)) > 0; at += (size_t)n) {
        for (ssize_t i = 0; i < n; i++) right &= (unsigned char)buf[i] == byte_at(at + (size_t)i);
        test_pause_us(100);
    }
    close(p[0]);
    CHECK(right);
    CHECK_EQ(at, OUTPUT);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
// A child of fork has none of what its parent has still to write: it writes its own, it has nothing to flush, and its
// end waits for nothing else.
static crt_poll say_run(void *frame, crt_cx *cx)
{
    st *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stdout(cx, &self->a), 0);
    if (self->n) CRT_AWAIT(self->r = crt_write_all(cx, self->a, self->buf, self->n));
    else CRT_AWAIT(self->r = crt_flush(cx, self->a));
    CRT_RETURN(self->r);
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
// On a runtime of its own; no bytes: flushes. True: that ended well.
static bool say(char c, size_t n)
{
    static st frame;
    crt_runtime *rt;
    memset(&frame, 0, sizeof frame);
    memset(frame.buf, c, n);
    frame.n = n;
    if (crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt)) return false;
    crt_poll r = crt_block_on(rt, say_run, &frame);
    crt_runtime_drop(&rt);
    return r == (crt_poll)n;
}
static int exit_of(pid_t child)
{
    int status;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
// While the thread of stdout has not got its lock.
static pid_t fork_now(void)
{
    crt__lock(&crt__stdios[1].lock);
    pid_t child = fork();
    crt__unlock(&crt__stdios[1].lock);
    return child;
}
enum { PARENTS = 3000, CHILDS = 5 };
static void parent_main(int ready)
{
    char full[4096];
    pid_t child;
    memset(full, 'f', sizeof full);
    fcntl(1, F_SETFL, O_NONBLOCK);
    while (write(1, full, sizeof full) > 0) {}
    fcntl(1, F_SETFL, 0);
    if (!say('p', PARENTS)) _exit(2);   // and nothing of it is written yet
    if (!(child = fork_now())) exit(say('-', 0) ? 4 : 2);
    if (exit_of(child) != 4) _exit(3);
    if (!(child = fork_now())) exit(say('c', CHILDS) ? 4 : 2);
    if (write(ready, "x", 1) != 1 || exit_of(child) != 4) _exit(3);
    exit(0);
}
static void output_of_a_child_of_fork(void)
{
    int p[2], ready[2];
    char buf[1000];
    size_t seen[256] = {0};
    CHECK_EQ(pipe(p), 0);
    CHECK_EQ(pipe(ready), 0);
    pid_t child = fork();
    if (!child) {
        dup2(p[1], 1);
        close(p[0]);
        close(p[1]);
        parent_main(ready[1]);
    }
    close(p[1]);
    close(ready[1]);
    CHECK_EQ(read(ready[0], buf, 1), 1);
    for (ssize_t n; (n = read(p[0], buf, sizeof buf)) > 0;)
        for (ssize_t i = 0; i < n; i++) seen[(unsigned char)buf[i]]++;
    CHECK_EQ(exit_of(child), 0);
    CHECK_EQ(seen['p'], PARENTS);
    CHECK_EQ(seen['c'], CHILDS);
    close(p[0]);
    close(ready[0]);
}
#endif

// --- deadlines: the pattern that the manual gives

typedef struct server {
    crt_frame co;
    crt_stream *s;
    crt_reader in;
    crt_writer out;
    crt_timer timer;
    crt_instant until;
    char *line;
    crt_poll n;
    const char *why;   // it ended
} server;
static const char *server_ended;
static crt_poll server_run(void *frame, crt_cx *cx)
{
    server *self = frame;
    CRT_BEGIN(self, cx);
    crt_reader_init(&self->in, self->s, NULL, 64);
    crt_writer_init(&self->out, self->s, NULL, 64);
    for (;;) {
        self->why = "idle";
        CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, CRT_SEC(60), crt_reader_fill(cx, &self->in, 1)));
        if (self->n <= 0) CRT_RETURN(self->n);
        self->why = "request";
        self->until = crt_now(cx) + CRT_SEC(10);
        do {   // a request: lines up to an empty one
            CRT_AWAIT(self->n = crt_timeout_at(cx, &self->timer, self->until,
                                               crt_reader_read_line(cx, &self->in, 64, &self->line)));
            if (self->n < 0) CRT_RETURN(self->n);
        } while (self->n > 0);
        self->why = "reply";
        CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, CRT_SEC(30), crt_writer_write_all(cx, &self->out, "a long reply\n", 13)));
        if (self->n < 0) CRT_RETURN(self->n);
        CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, CRT_SEC(30), crt_writer_flush(cx, &self->out)));
        if (self->n < 0) CRT_RETURN(self->n);
    }
    CRT_FINALLY
        server_ended = self->n == CRT_ETIMEDOUT ? self->why : NULL;
        crt_reader_drop(&self->in);
        crt_writer_drop(&self->out);
        crt_close(&self->s);
    CRT_END;
}
static crt_poll slow_clients_run(void *frame, crt_cx *cx)
{
    static const char *const texts[] = {"", "GET /\n", "GET /\n\n", "GET /\n\nGET /\n\n"};
    static const char *const reasons[] = {"idle", "request", "reply", "idle"};
    static const int seconds[] = {60, 10, 30, 60};
    st *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 4; self->i++) {
        // The reply fits for the last only.
        CHECK_EQ(crt_duplex(cx, self->i == 3 ? 26 : 12, &self->a, &self->b), 0);
        self->t0 = crt_now(cx);
        if (self->i != 3) (void)crt_try_write(self->a, texts[self->i], strlen(texts[self->i]));
        CHECK_EQ(crt_spawn_join(cx, &self->join, server_run, &(server){.s = self->b}), 0);
        self->b = NULL;
        if (self->i == 3) CRT_AWAIT(self->r = crt_write_all(cx, self->a, texts[3], strlen(texts[3])));
        CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
        CHECK(self->r == 0 && self->result == CRT_ETIMEDOUT);
        CHECK(server_ended && !strcmp(server_ended, reasons[self->i]));
        CHECK(crt_now(cx) - self->t0 >= CRT_SEC(seconds[self->i]) && crt_now(cx) - self->t0 < CRT_SEC(seconds[self->i] + 1));
        crt_close(&self->a);
    }
    // A byte each five seconds keeps no request open for ever.
    CHECK_EQ(crt_duplex(cx, 100, &self->a, &self->b), 0);
    CHECK_EQ(crt_spawn_join(cx, &self->join, server_run, &(server){.s = self->b}), 0);
    self->b = NULL;
    self->t0 = crt_now(cx);
    while (crt_try_write(self->a, "x", 1) == 1) CRT_AWAIT(crt_sleep(cx, CRT_SEC(5)));
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK(self->result == CRT_ETIMEDOUT && server_ended && !strcmp(server_ended, "request"));
    CHECK(crt_now(cx) - self->t0 <= CRT_SEC(15));
    CRT_FINALLY
        close_all(self);
    CRT_END;
}
static void slow_clients_do_not_hold_a_server(void) { run(slow_clients_run); }

int main(int argc, char **argv)
{
    test_init(argc, argv);
#ifndef _WIN32
    TEST(output_is_written_before_the_process_ends);   // forks: no thread may be there yet
    if (FORK_WITH_THREADS) TEST(output_of_a_child_of_fork);
#endif
    TEST(duplex_carries_bytes_with_backpressure);
    TEST(duplex_ends_as_sockets_do);
    TEST(duplex_records_are_used_again);
    TEST(duplex_without_memory);
    TEST_ON_EACH_WITH(without_a_record, .log.func = test_log);
    TEST_ON_EACH_WITH(duplex_echo, .drivers = CRT_DRIVER_NONE, .log.func = test_log);
    TEST_ON_EACH_WITH(duplex_echo_between_two_runtimes, .log.func = test_log);
    TEST_ON_EACH(duplex_from_a_plain_thread);
    TEST(duplex_outlives_its_runtime);
    TEST_ON_EACH_WITH(duplex_abandoned, .log.func = test_log);
    TEST(reader_gives_lines_pieces_and_bytes);
    TEST(lines_have_a_limit_and_lose_nothing);
    TEST(lines_do_not_depend_on_how_bytes_arrive);
    TEST(writer_gathers_and_keeps_order);
    TEST(read_to_end_has_a_limit);
    TEST(copy_moves_everything_and_leaves_no_buffer);
    TEST(copy_bidirectional_is_a_proxy);
    TEST_ON_EACH(streams_over_sockets);
    TEST(copy_bidirectional_is_fair);
    TEST(copies_leave_nothing_when_ended_by_force);
    TEST(frames_of_every_shape);
    TEST(frames_come_back_as_written);
    TEST(mock_follows_its_script);
    TEST(mock_tells_what_went_wrong);
    TEST_ON_EACH_WITH(mock_without_timers, .drivers = CRT_DRIVER_NONE, .log.func = test_log);
    TEST_ON_EACH(a_slot_of_another_reader);
    TEST_ON_EACH(standard_input);
    TEST(standard_input_from_a_file);
    TEST(input_that_does_not_come_holds_nothing_up);
#ifndef _WIN32
    TEST(input_that_another_has_taken);
#endif
    TEST_ON_EACH(standard_output);
    TEST(standard_output_that_nobody_reads);
    TEST(standard_output_into_a_full_pipe);
    TEST(slow_clients_do_not_hold_a_server);
    return test_end();
}
