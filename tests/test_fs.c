// Files and directories: what each call gives, what it says to bad input, and that a call
// which is cancelled before, while or after it runs loses neither a byte, a descriptor nor
// memory. In a directory of its own. On Windows without links: there they need a privilege,
// and wine has none.
#include <stdlib.h>
static void *failing_malloc(size_t n);
#define CRT_MALLOC(n) failing_malloc(n)
#define CRT_FREE(p) free(p)
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#include "by_hand.h"

#include "win_shim/win_files.h"

#ifndef _WIN32
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#endif

static int malloc_left = -1;   // atomic: how many succeed before one fails; -1: all
static void *failing_malloc(size_t n)
{
    int left = __atomic_load_n(&malloc_left, __ATOMIC_RELAXED);
    if (left >= 0 && __atomic_fetch_sub(&malloc_left, 1, __ATOMIC_RELAXED) <= 0) return NULL;
    return malloc(n);
}
static void fail_after(int n) { __atomic_store_n(&malloc_left, n, __ATOMIC_RELAXED); }

static char dir[100];   // the directory of this run
static const char *in_dir(char *buf, const char *name)
{
    snprintf(buf, 200, "%s/%s", dir, name);
    return buf;
}

typedef struct give_up {
    crt_frame co;
    crt_join_handle *join;
    intptr_t result;
    crt_poll r;
} give_up;
typedef struct io {
    crt_frame co;
    give_up sub;
    crt_file *f, *g;
    crt_dir *d, *d2;
    crt_fs_dirent e;
    crt_fs_stat st;
    crt_addr addr;
    crt_timer timer;
    CRT_SELECT(2) sel;
    crt_join_handle *join, *join2;
    intptr_t result;
    char path[200], path2[200], buf[600];
    char *text, *big, *back;
    void *data;
    size_t n;
    int64_t at;
    uint64_t bytes;
    int i, fd, seen[100];
    crt_poll r, x, y, w;
} io;
static void run(crt_runtime *rt, crt_fn fn)
{
    io *frame = calloc(1, sizeof *frame);
    CHECK_EQ(crt_block_on(rt, fn, frame), 0);
    free(frame);
}
static void run_whole(crt_runtime *rt, crt_fn fn)
{
    int before = test_fd_count();
    run(rt, fn);
    // A job that was given up may hold the file for a moment more.
    for (int i = 0; i < 20000 && test_fd_count() != before; i++) test_pause_us(200);
    CHECK_EQ(test_fd_count(), before);
}

// --- open, read, write, seek

static crt_poll open_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    in_dir(self->path, "open");
    unlink(self->path);
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path, NULL, &self->f));
    CHECK(self->r == -ENOENT && !self->f);
    // Descriptions that say nothing sensible.
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path, &(crt_fs_open_desc){.create = true}, &self->f));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path, &(crt_fs_open_desc){.read = true, .create = true}, &self->f));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path, &(crt_fs_open_desc){.read = true, .truncate = true}, &self->f));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path,
        &(crt_fs_open_desc){.write = true, .append = true, .truncate = true}, &self->f));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_fs_open(cx, NULL, NULL, &self->f));
    CHECK_EQ(self->r, CRT_EINVAL);
    CHECK(access(self->path, F_OK));
    // Write, with a mode; close-on-exec.
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path,
        &(crt_fs_open_desc){.write = true, .create_new = true, .mode = 0640}, &self->f));
    CHECK(self->r == 0 && self->f);
    CHECK(fcntl((int)crt_file_fd(self->f), F_GETFD) & FD_CLOEXEC);
    CRT_AWAIT(self->r = crt_file_write(cx, self->f, "hello, world", 12));
    CHECK_EQ(self->r, 12);
    CRT_AWAIT(self->r = crt_file_read(cx, self->f, self->buf, 5));
    CHECK_EQ(self->r, -EBADF);
    CRT_AWAIT(self->r = crt_file_metadata(cx, self->f, &self->st));
    CHECK(self->r == 0 && self->st.size == 12 && self->st.kind == CRT_FS_FILE && self->st.mode == TEST_MODE(0640));
    CHECK(self->st.uid == getuid() && self->st.nlink == 1 && self->st.mtime_ns > 0);
    CRT_AWAIT(self->r = crt_file_metadata(cx, self->f, NULL));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_file_sync(cx, self->f));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_file_sync_data(cx, self->f));
    CHECK_EQ(self->r, 0);
    crt_close(&self->f);
    CHECK(!self->f);
    crt_close(&self->f);
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path,
        &(crt_fs_open_desc){.write = true, .create_new = true}, &self->f));
    CHECK_EQ(self->r, -EEXIST);
    // Read: in pieces, exactly, past the end.
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path, NULL, &self->f));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_file_read(cx, self->f, self->buf, 5));
    CHECK(self->r == 5 && !memcmp(self->buf, "hello", 5));
    CRT_AWAIT(self->r = crt_file_pread(cx, self->f, self->buf, 600, 7));
    CHECK(self->r == 5 && !memcmp(self->buf, "world", 5));
    CRT_AWAIT(self->r = crt_file_read_exact(cx, self->f, self->buf, 7));
    CHECK(self->r == 7 && !memcmp(self->buf, ", world", 7));
    CRT_AWAIT(self->r = crt_file_read(cx, self->f, self->buf, 7));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_file_read_exact(cx, self->f, self->buf, 1));
    CHECK_EQ(self->r, CRT_EEOF);
    CRT_AWAIT(self->r = crt_file_pread_exact(cx, self->f, self->buf, 6, 7));
    CHECK_EQ(self->r, CRT_EEOF);
    CRT_AWAIT(self->r = crt_file_pread(cx, self->f, self->buf, 6, -1));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_file_pwrite(cx, self->f, self->buf, 6, 0));
    CHECK_EQ(self->r, -EBADF);
    CRT_AWAIT(self->r = crt_file_read(cx, self->f, self->buf, 0));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_file_read(cx, self->f, NULL, 3));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_file_read(cx, NULL, self->buf, 3));
    CHECK_EQ(self->r, CRT_EINVAL);
    // Seek.
    CRT_AWAIT(self->r = crt_file_seek(cx, self->f, -5, CRT_SEEK_END, &self->at));
    CHECK(self->r == 0 && self->at == 7);
    CRT_AWAIT(self->r = crt_file_seek(cx, self->f, -2, CRT_SEEK_CUR, NULL));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_file_read_exact(cx, self->f, self->buf, 2));
    CHECK(self->r == 2 && !memcmp(self->buf, ", ", 2));
    CRT_AWAIT(self->r = crt_file_seek(cx, self->f, -1, CRT_SEEK_SET, &self->at));
    CHECK(self->r == -EINVAL && self->at == 7);
    CRT_AWAIT(self->r = crt_file_seek(cx, self->f, 0, 7, &self->at));
    CHECK_EQ(self->r, CRT_EINVAL);
    crt_close(&self->f);
    // Both ways, append, truncate, a length, a mode.
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path, &(crt_fs_open_desc){.read = true, .append = true}, &self->f));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_file_write_all(cx, self->f, "!", 1));
    CHECK_EQ(self->r, 1);
    CRT_AWAIT(self->r = crt_file_pread(cx, self->f, self->buf, 600, 0));
    CHECK(self->r == 13 && !memcmp(self->buf, "hello, world!", 13));
    CRT_AWAIT(self->r = crt_file_set_len(cx, self->f, 5));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_file_set_len(cx, self->f, -5));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_file_set_mode(cx, self->f, 0600));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_metadata(cx, self->path, &self->st));
    CHECK(self->r == 0 && self->st.size == 5 && self->st.mode == TEST_MODE(0600));
    CRT_AWAIT(self->r = crt_file_set_mode(cx, self->f, 0400));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_metadata(cx, self->path, &self->st));
    CHECK(self->r == 0 && self->st.mode == TEST_MODE(0400));
    CRT_AWAIT(self->r = crt_fs_set_mode(cx, self->path, 0600));
    CHECK_EQ(self->r, 0);
    crt_close(&self->f);
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path, &(crt_fs_open_desc){.write = true, .truncate = true}, &self->f));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_file_pwrite_all(cx, self->f, "xyz", 3, 2));
    CHECK_EQ(self->r, 3);
    CRT_AWAIT(self->r = crt_file_seek(cx, self->f, 0, CRT_SEEK_CUR, &self->at));
    CHECK(self->r == 0 && self->at == 0);   // pwrite leaves the position
    crt_close(&self->f);
    CRT_AWAIT(self->r = crt_fs_read_file(cx, self->path, &self->data, &self->n));
    CHECK(self->r == 0 && self->n == 5 && !memcmp(self->data, "\0\0xyz", 6));
    crt_free(self->data);
    CRT_AWAIT(self->r = crt_fs_read_file_max(cx, self->path, 5, &self->data, &self->n));
    CHECK(self->r == 0 && self->n == 5);
    crt_free(self->data);
    CRT_AWAIT(self->r = crt_fs_read_file_max(cx, self->path, 4, &self->data, &self->n));
    CHECK(self->r == -EFBIG && !self->data && !self->n);
#ifndef _WIN32   // devices as files
    CRT_AWAIT(self->r = crt_fs_read_file_max(cx, "/dev/zero", 100000, &self->data, &self->n));
    CHECK(self->r == -EFBIG && !self->data && !self->n);
    CRT_AWAIT(self->r = crt_fs_open(cx, "/dev/full", &(crt_fs_open_desc){.write = true}, &self->f));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_file_write_all(cx, self->f, "x", 1));
    CHECK_EQ(self->r, -ENOSPC);
#endif
    CRT_FINALLY
        crt_close(&self->f);
        unlink(self->path);
    CRT_END;
}
static void open_read_write_seek(crt_runtime *rt) { run_whole(rt, open_run); }

// More than one hop; the size in the variable that takes the result.
static crt_poll hops_run(void *frame, crt_cx *cx)
{
    enum { SIZE = 5 * 1024 * 1024 + 17 };
    io *self = frame;
    CRT_BEGIN(self, cx);
    in_dir(self->path, "hops");
    self->big = malloc(SIZE);
    self->back = calloc(1, SIZE + 10);
    for (int i = 0; i < SIZE; i++) self->big[i] = (char)(i * 7 + i / 251);
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path,
        &(crt_fs_open_desc){.read = true, .write = true, .create = true, .truncate = true}, &self->f));
    CHECK_EQ(self->r, 0);
    self->r = SIZE;
    CRT_AWAIT(self->r = crt_file_write_all(cx, self->f, self->big, (size_t)self->r));
    CHECK_EQ(self->r, SIZE);
    CRT_AWAIT(self->r = crt_file_seek(cx, self->f, 0, CRT_SEEK_SET, NULL));
    self->r = SIZE;
    CRT_AWAIT(self->r = crt_file_read_exact(cx, self->f, self->back, (size_t)self->r));
    CHECK(self->r == SIZE && !memcmp(self->big, self->back, SIZE));
    memset(self->back, 0, SIZE);
    CRT_AWAIT(self->r = crt_file_pread_exact(cx, self->f, self->back, SIZE - 5, 5));
    CHECK(self->r == SIZE - 5 && !memcmp(self->big + 5, self->back, SIZE - 5));
    CRT_AWAIT(self->r = crt_file_pwrite_all(cx, self->f, self->big, SIZE, 1));
    CHECK_EQ(self->r, SIZE);
    CRT_AWAIT(self->r = crt_file_read_exact(cx, self->f, self->back, 2));
    CHECK(self->r == CRT_EEOF);   // one byte more than before, where the position was
    CRT_AWAIT(self->r = crt_file_pread_exact(cx, self->f, self->back, SIZE + 1, 0));
    CHECK(self->r == SIZE + 1 && self->back[0] == self->big[0] && !memcmp(self->back + 1, self->big, SIZE));
    CRT_AWAIT(self->r = crt_file_read(cx, self->f, self->back, SIZE));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_file_pread(cx, self->f, self->back, SIZE, 0));
    CHECK_EQ(self->r, 2 << 20);   // one hop
    // Exactly, off the end, in the second hop.
    CRT_AWAIT(self->r = crt_file_pread_exact(cx, self->f, self->back, 2 << 20, SIZE - (2 << 20) + 3));
    CHECK_EQ(self->r, CRT_EEOF);
    CRT_FINALLY
        crt_close(&self->f);
        free(self->big);
        free(self->back);
        unlink(self->path);
    CRT_END;
}
static void several_hops(crt_runtime *rt) { run_whole(rt, hops_run); }

// --- the turn: a pipe holds a job up for as long as the test likes

static crt_poll reader_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_file_read(cx, self->f, self->buf, 8));
    CRT_RETURN(self->r);
    CRT_END;
}
static bool taken(crt_file *f)   // by a call
{
    crt__lock(&f->lock);
    bool is = f->owner != NULL;
    crt__unlock(&f->lock);
    return is;
}
static bool waited_for(crt_file *f)   // the turn
{
    crt__lock(&f->lock);
    bool is = f->waiter != NULL;
    crt__unlock(&f->lock);
    return is;
}
static void wait_until_it_reads(crt_file *f)   // the job is inside read()
{
    while (!taken(f)) test_pause_us(100);
    test_pause_us(2000);
}
// Leaves a job behind that is inside read(). One that had not begun is only dropped, and
// gives the turn back at once: then again.
static crt_poll give_up_a_read(give_up *self, crt_cx *cx, crt_file *f)
{
    CRT_BEGIN(self, cx);
    do {
        CHECK_EQ(crt_spawn_join(cx, &self->join, reader_run, &(io){.f = f}), 0);
        while (!taken(f)) CRT_YIELD();
        wait_until_it_reads(f);
        crt_abort(self->join);
        CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
        CHECK_EQ(self->r, CRT_ECANCELED);
    } while (!taken(f));
    CRT_END;
}
static crt_poll turn_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    in_dir(self->path, "fifo");
    CHECK_EQ(test_fifo_new(self->path, sizeof self->path), 0);
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path, &(crt_fs_open_desc){.read = true, .write = true}, &self->f));
    CHECK_EQ(self->r, 0);
    self->fd = (int)crt_file_fd(self->f);
    // One at a time.
    CHECK_EQ(crt_spawn_join(cx, &self->join, reader_run, &(io){.f = self->f}), 0);
    while (!taken(self->f)) CRT_YIELD();
    CRT_AWAIT(self->r = crt_file_read(cx, self->f, self->buf, 8));
    CHECK_EQ(self->r, CRT_EBUSY);
    CRT_AWAIT(self->r = crt_file_write(cx, self->f, "x", 1));
    CHECK_EQ(self->r, CRT_EBUSY);
#ifndef _WIN32   // one call at a time on such a handle, by the system
    CRT_AWAIT(self->r = crt_file_metadata(cx, self->f, &self->st));   // not at the position
    CHECK(self->r == 0 && self->st.kind == CRT_FS_FIFO);
#endif
    CHECK_EQ(test_fifo_feed(self->fd, "abc", 3), 3);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK(self->r == 0 && self->result == 3);
    // Given up while it reads: the bytes are for the next read, which waits for them.
    for (self->i = 0; self->i < 3; self->i++) {
        CRT_AWAIT(give_up_a_read(&self->sub, cx, self->f));
        // Another waits for the turn; a third is told that it is taken.
        CHECK_EQ(crt_spawn_join(cx, &self->join, reader_run, &(io){.f = self->f}), 0);
        while (!waited_for(self->f)) CRT_YIELD();
        CRT_AWAIT(self->r = crt_file_write(cx, self->f, "x", 1));
        CHECK_EQ(self->r, CRT_EBUSY);
        if (self->i == 1) {   // gives up waiting for the turn
            crt_abort(self->join);
            CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
            CHECK_EQ(self->r, CRT_ECANCELED);
            CHECK(!waited_for(self->f));
        }
        CHECK_EQ(test_fifo_feed(self->fd, "12345678", 8), 8);
        if (self->i == 1) {
            CRT_AWAIT(self->r = crt_file_read(cx, self->f, self->buf, 5));
            CHECK(self->r == 5 && !memcmp(self->buf, "12345", 5));
            CRT_AWAIT(self->r = crt_file_read_exact(cx, self->f, self->buf, 3));
            CHECK(self->r == 3 && !memcmp(self->buf, "678", 3));
        } else {
            CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
            CHECK(self->r == 0 && self->result == 8);
        }
    }
    // All that is kept is enough for a read that asks for more.
    CRT_AWAIT(give_up_a_read(&self->sub, cx, self->f));
    CHECK_EQ(test_fifo_feed(self->fd, "12345678", 8), 8);
    while (taken(self->f)) CRT_YIELD();
    CRT_AWAIT(self->r = crt_file_read(cx, self->f, self->buf, 100));
    CHECK(self->r == 8 && !memcmp(self->buf, "12345678", 8));
    // Part of what is kept, and more.
    CRT_AWAIT(give_up_a_read(&self->sub, cx, self->f));
    CHECK_EQ(test_fifo_feed(self->fd, "12345678", 8), 8);
    while (taken(self->f)) CRT_YIELD();
    CHECK_EQ(test_fifo_feed(self->fd, "9abc", 4), 4);
    CRT_AWAIT(self->r = crt_file_read_exact(cx, self->f, self->buf, 12));
    CHECK(self->r == 12 && !memcmp(self->buf, "123456789abc", 12));
    // Closed while a job reads: the descriptor lives until it has ended.
    CHECK_EQ(crt_spawn_join(cx, &self->join, reader_run, &(io){.f = self->f}), 0);
    while (!taken(self->f)) CRT_YIELD();
    wait_until_it_reads(self->f);
    crt_close(&self->f);
    CHECK_EQ(test_fifo_feed(self->fd, "last", 4), 4);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK(self->r == 0 && self->result == 4);
    // Given up, and closed, while it reads.
    CHECK_EQ(test_fifo_again(self->path, sizeof self->path), 0);
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path, &(crt_fs_open_desc){.read = true, .write = true}, &self->f));
    self->fd = (int)crt_file_fd(self->f);
    CHECK_EQ(crt_spawn_join(cx, &self->join, reader_run, &(io){.f = self->f}), 0);
    while (!taken(self->f)) CRT_YIELD();
    wait_until_it_reads(self->f);
    crt_abort(self->join);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
#ifndef _WIN32
    self->fd = dup(self->fd);
#endif
    crt_close(&self->f);
#ifdef _WIN32   // where its end is gone as soon as the read is, which wine ended by itself once
    (void)test_fifo_feed(self->fd, "gone", 4);
#else
    CHECK_EQ(test_fifo_feed(self->fd, "gone", 4), 4);
    close(self->fd);
#endif
    CRT_FINALLY
        test_fifo_drop(self->path);
    CRT_END;
}
static void one_at_a_time_and_nothing_is_lost(crt_runtime *rt) { run(rt, turn_run); }
#ifdef __linux__   // a pipe that has a path
// Given up while it reads, and nothing came: the next read has the turn, and is told of the end.
static crt_poll nothing_run(void *frame, crt_cx *cx)
{
    static int fd[2];
    io *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(pipe(fd), 0);
    snprintf(self->path, sizeof self->path, "/proc/self/fd/%d", fd[0]);
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path, NULL, &self->f));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(give_up_a_read(&self->sub, cx, self->f));
    CHECK_EQ(crt_spawn_join(cx, &self->join, reader_run, &(io){.f = self->f}), 0);
    while (!waited_for(self->f)) CRT_YIELD();
    close(fd[1]);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK(self->r == 0 && self->result == 0);
    CRT_FINALLY
        crt_close(&self->f);
        close(fd[0]);
    CRT_END;
}
static void a_read_given_up_that_got_nothing(crt_runtime *rt) { run_whole(rt, nothing_run); }
// A wait for the turn, by hand: polled again, when its handle has been closed, and for another file.
// What a poll starts after its first job is signalled at its end; here it has none.
#define UNTIL_DONE(at) while ((at) == PENDING) (void)crt__pool_signal(cx->rt), test_pause_us(100)
BODY(a_wait_for_the_turn)
{
    POLLS;
    int fd[2], fds = test_fd_count();
    char path[200], c = 0;
    crt_file *f = NULL, *g = NULL;
    CHECK_EQ(pipe(fd), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd[0]);
    UNTIL_DONE(AT(s[0], crt_fs_open(cx, path, NULL, &f)));
    UNTIL_DONE(AT(s[0], crt_fs_open(cx, "/dev/zero", NULL, &g)));
    do {   // until it is given up inside read()
        CHECK_EQ(AT(s[0], crt_file_read(cx, f, &c, 1)), PENDING);
        (void)crt__pool_signal(cx->rt);
        test_pause_us(5000);   // the pool's thread comes by then, as a rule
        CHECK_EQ(CANCEL(s[0], crt_file_read(cx, f, &c, 1)), UNWIND);
    } while (!taken(f));
    for (int i = 0; i < 2; i++) CHECK_EQ(AT(s[1], crt_file_read(cx, f, &c, 1)), PENDING);
    CHECK_EQ(AT(s[1], crt_file_read(cx, NULL, &c, 1)), PENDING);
    CHECK(waited_for(f));
    c = 'x';
    UNTIL_DONE(AT(s[1], crt_file_read(cx, g, &c, 1)));
    CHECK(got == 1 && c == 0 && !waited_for(f));
    CHECK_EQ(AT(s[1], crt_file_read(cx, f, &c, 1)), PENDING);
    CHECK(waited_for(f));
    CHECK_EQ(write(fd[1], "ab", 2), 2);   // the first is what the read that was given up leaves
    UNTIL_DONE(AT(s[1], crt_file_read(cx, f, &c, 1)));
    CHECK(got == 1 && c == 'a');
    crt_close(&f);
    crt_close(&g);
    close(fd[0]);
    close(fd[1]);
    CHECK_EQ(test_fd_count(), fds);
}
#endif

// A plain file: a read that is given up leaves the position, whenever that was.
static crt_poll position_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    in_dir(self->path, "position");
    for (int i = 0; i < 600; i++) self->buf[i] = (char)i;
    CRT_AWAIT(self->r = crt_fs_write_file(cx, self->path, self->buf, 600));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path, &(crt_fs_open_desc){.read = true, .write = true}, &self->f));
    CHECK_EQ(self->r, 0);
    for (self->n = 0, self->i = 0; self->n < 600; self->i++) {
        CRT_AWAIT(self->w = crt_select_biased(cx, &self->sel,
            crt_on(cx, 0, self->x = crt_file_read(cx, self->f, self->buf, 3)),
            crt_on(cx, 1, self->y = self->i % 3 == 0 ? crt_yield_now(cx)
                                  : self->i % 3 == 1 ? crt_sleep(cx, CRT_US(30)) : crt_sleep(cx, CRT_SEC(50)))));
        if (self->w) continue;
        CHECK_EQ(self->x, 3);
        for (int i = 0; i < 3; i++) CHECK_EQ(self->buf[i], (char)(self->n + (size_t)i));
        self->n += 3;
    }
    // Every other call, given up at its first or second poll.
    for (self->i = 0; self->i < 30; self->i++) {
        CRT_AWAIT(self->w = crt_select_biased(cx, &self->sel,
            crt_on_if(cx, 0, true, self->x = self->i % 6 == 0 ? crt_file_seek(cx, self->f, 0, CRT_SEEK_SET, &self->at)
                : self->i % 6 == 1 ? crt_file_metadata(cx, self->f, &self->st)
                : self->i % 6 == 2 ? crt_fs_canonicalize(cx, self->path, &self->text)
                : self->i % 6 == 3 ? crt_fs_temp_dir(cx, dir, &self->text)
                : self->i % 6 == 4 ? crt_fs_temp_file(cx, dir, &self->g, &self->text)
                                   : crt_file_sync(cx, self->f)),
            crt_on(cx, 1, self->y = self->i % 2 ? crt_sleep(cx, CRT_US(30)) : crt_yield_now(cx))));
        if (self->w == 0 && self->text) {
            unlink(self->text);
            rmdir(self->text);
            crt_free(self->text);
        }
        self->text = NULL;
        crt_close(&self->g);
    }
    // What waits for the last of them comes in order.
    CRT_AWAIT(self->r = crt_file_seek(cx, self->f, 5, CRT_SEEK_SET, &self->at));
    CHECK(self->r == 0 && self->at == 5);
    CRT_AWAIT(self->r = crt_file_read(cx, self->f, self->buf, 1));
    CHECK(self->r == 1 && self->buf[0] == 5);
    CRT_FINALLY
        crt_close(&self->f);
        unlink(self->path);
    CRT_END;
}
static int entries_in(const char *path)
{
    int n = 0;
    DIR *d = opendir(path);
    while (d && readdir(d)) n++;
    if (d) closedir(d);
    return n - 2;
}
static void a_read_given_up_leaves_the_position(void)
{
    crt_runtime *rt;
    for (int i = 0; i < 2; i++) {
        int before = test_fd_count();
        CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = i ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD}, &rt), 0);
        run(rt, position_run);
        crt_runtime_drop(&rt);
        CHECK_EQ(test_fd_count(), before);
        CHECK_EQ(entries_in(dir), 0);   // temporary ones that nobody took are removed
    }
}

// A call that has ended is given up before anybody has looked: a plain file is where it was, what was made goes away,
// by whoever lets go last: here, who gives up.
#define UNTIL_ENDED(slot_, ...)                                                            \
    do {                                                                                   \
        CHECK_EQ(AT(slot_, __VA_ARGS__), PENDING);                                         \
        crt__call *call_ = (slot_).object;                                                 \
        while (crt__atomic_load(&call_->word, CRT__ACQUIRE) != CRT__CALL_DONE) test_pause_us(100); \
        while (!crt__call_abandoned(call_)) test_pause_us(100);   /* the thread has let go of it */ \
    } while (0)
BODY(given_up_when_it_has_ended)
{
    POLLS;
    crt_file *f = NULL, *g = NULL;
    char path[200], *name = NULL, c = 0;
    int fds = test_fd_count();
    UNTIL_ENDED(s[0], crt_fs_write_file(cx, in_dir(path, "ended"), "ab", 2));
    CHECK_EQ(AT(s[0], crt_fs_write_file(cx, path, "ab", 2)), 0);
    UNTIL_ENDED(s[0], crt_fs_open(cx, path, NULL, &f));
    CHECK_EQ(CANCEL(s[0], crt_fs_open(cx, path, NULL, &f)), UNWIND);
    CHECK(!f && test_fd_count() == fds);
    UNTIL_ENDED(s[0], crt_fs_open(cx, path, NULL, &f));
    CHECK_EQ(AT(s[0], crt_fs_open(cx, path, NULL, &f)), 0);
    UNTIL_ENDED(s[0], crt_file_read(cx, f, &c, 1));
    CHECK_EQ(CANCEL(s[0], crt_file_read(cx, f, &c, 1)), UNWIND);
    UNTIL_ENDED(s[0], crt_file_read(cx, f, &c, 1));
    CHECK(AT(s[0], crt_file_read(cx, f, &c, 1)) == 1 && c == 'a');
    UNTIL_ENDED(s[0], crt_file_pread(cx, f, &c, 1, 0));
    CHECK_EQ(CANCEL(s[0], crt_file_pread(cx, f, &c, 1, 0)), UNWIND);
    UNTIL_ENDED(s[0], crt_file_read(cx, f, &c, 1));
    CHECK(AT(s[0], crt_file_read(cx, f, &c, 1)) == 1 && c == 'b');
    // Another operation in the slot of one that has ended: that one begins, as any does.
    UNTIL_ENDED(s[0], crt_fs_open(cx, path, &(crt_fs_open_desc){.read = true, .write = true}, &g));
    CHECK_EQ(AT(s[0], crt_fs_open(cx, path, &(crt_fs_open_desc){.read = true, .write = true}, &g)), 0);
    UNTIL_ENDED(s[0], crt_file_sync(cx, f));
    UNTIL_ENDED(s[0], crt_file_sync(cx, g));
    UNTIL_ENDED(s[0], crt_file_pread(cx, g, &c, 1, 0));
    UNTIL_ENDED(s[0], crt_file_pwrite(cx, g, "z", 1, 0));
    CHECK_EQ(AT(s[0], crt_file_pwrite(cx, g, "z", 1, 0)), 1);
    UNTIL_ENDED(s[0], crt_file_pread(cx, f, &c, 1, 0));
    CHECK(AT(s[0], crt_file_pread(cx, f, &c, 1, 0)) == 1 && c == 'z');
    crt_close(&g);
    crt_close(&f);
    unlink(path);
    UNTIL_ENDED(s[0], crt_fs_temp_file(cx, dir, &g, &name));
    CHECK_EQ(entries_in(dir), 1);
    CHECK_EQ(CANCEL(s[0], crt_fs_temp_file(cx, dir, &g, &name)), UNWIND);
    CHECK(!g && !name && entries_in(dir) == 0);
    UNTIL_ENDED(s[0], crt_fs_temp_dir(cx, dir, &name));
    CHECK_EQ(entries_in(dir), 1);
    CHECK_EQ(CANCEL(s[0], crt_fs_temp_dir(cx, dir, &name)), UNWIND);
    CHECK(!name && entries_in(dir) == 0);
    CHECK_EQ(test_fd_count(), fds);
}

// With one thread, which is busy: a call that has not begun never does.
static int gate[2], holding;   // atomic
static intptr_t hold(void *arg)
{
    char c;
    (void)arg;
    __atomic_store_n(&holding, 1, __ATOMIC_SEQ_CST);
    return read(gate[0], &c, 1);
}
static crt_poll queued_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    in_dir(self->path, "queued");
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path,
        &(crt_fs_open_desc){.read = true, .write = true, .create = true}, &self->f));
    CHECK_EQ(crt_spawn_blocking(cx, &self->join, hold, NULL), 0);
    for (self->i = 0; self->i < 4; self->i++) {
        CRT_AWAIT(self->w = crt_select_biased(cx, &self->sel,
            crt_on(cx, 0, self->x = self->i == 0 ? crt_file_write(cx, self->f, "no", 2)
                        : self->i == 1 ? crt_fs_create_dir(cx, in_dir(self->path2, "never"), 0)
                        : self->i == 2 ? crt_fs_temp_file(cx, dir, &self->g, NULL)
                                       : crt_fs_open(cx, self->path, NULL, &self->g)),
            crt_on(cx, 1, crt_yield_now(cx))));
        CHECK_EQ(self->w, 1);
        CHECK(!self->g);
    }
    CHECK_EQ(write(gate[1], "x", 1), 1);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    // The turn is free at once.
    CRT_AWAIT(self->r = crt_file_read(cx, self->f, self->buf, 9));
    CHECK_EQ(self->r, 0);
    CHECK(access(self->path2, F_OK));
    CRT_FINALLY
        crt_close(&self->f);
        unlink(self->path);
    CRT_END;
}
// What stands in the line of the pool when there can be no thread any more is told so, lookups that wait for others too;
// at the end of the runtime it is told of that.
BODY(behind_a_job_that_holds)
{
    POLLS;
    crt_join_handle *join;
    crt_dir *d = NULL;
    crt_fs_dirent e;
    crt_addr addr;
    crt_stream *stream = NULL;
    UNTIL_ENDED(s[0], crt_fs_read_dir(cx, dir, &d));
    CHECK_EQ(AT(s[0], crt_fs_read_dir(cx, dir, &d)), 0);
    holding = 0;
    CHECK_EQ(crt_spawn_blocking(cx, &join, hold, NULL), 0);
    while (!__atomic_load_n(&holding, __ATOMIC_SEQ_CST)) test_pause_us(100);
    for (int closing = 0; closing < 2; closing++) {
        CHECK_EQ(AT(s[0], crt_dir_next(cx, d, &e)), PENDING);
        CHECK_EQ(AT(s[1], crt_dir_next(cx, d, &e)), CRT_EBUSY);   // one at a time
        CHECK_EQ(AT(s[2], crt_fs_exists(cx, dir)), PENDING);
        for (int i = 3; i < 5; i++) CHECK_EQ(AT(s[i], crt_resolve(cx, "localhost:80", &addr, 1)), PENDING);
        for (int i = 0; i < 2; i++) CHECK_EQ(AT(s[5], crt_tcp_connect(cx, "localhost:80", &stream)), PENDING);
        if (closing) {
            crt__atomic_store(&cx->rt->pool.stop, 1, CRT__SEQ_CST);
            crt__pool_drain(cx->rt);
            crt__atomic_store(&cx->rt->pool.stop, 0, CRT__SEQ_CST);
        } else {
            crt__pool_give_up(cx->rt, -EAGAIN);
        }
        int told = closing ? CRT_ESHUTDOWN : -EAGAIN;
        CHECK_EQ(AT(s[0], crt_dir_next(cx, d, &e)), told);
        CHECK_EQ(AT(s[2], crt_fs_exists(cx, dir)), told);
        for (int i = 3; i < 5; i++) CHECK_EQ(AT(s[i], crt_resolve(cx, "localhost:80", &addr, 1)), told);
        CHECK(AT(s[5], crt_tcp_connect(cx, "localhost:80", &stream)) == told && !stream);
        CHECK_EQ(cx->rt->lookups, 0);
    }
    CHECK_EQ(write(gate[1], "x", 1), 1);
    CHECK_EQ(crt__join_thread(&join, NULL), 0);
    UNTIL_ENDED(s[0], crt_dir_next(cx, d, &e));   // nobody has its turn
    CHECK_EQ(AT(s[0], crt_dir_next(cx, d, &e)), 0);
    crt_close(&d);
}
static void without_a_thread_all_in_line_are_told(void)
{
    crt_runtime *rt;
    crt_config c = {.flavor = CRT_CURRENT_THREAD, .max_blocking_threads = 1, .max_lookups = 1,
                    .thread_keep_alive = CRT_MS(20), .log.func = test_log};
    CHECK_EQ(pipe(gate), 0);
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    behind_a_job_that_holds(rt);
    crt_runtime_drop(&rt);
    close(gate[0]);
    close(gate[1]);
}
static void what_has_not_begun_never_does(void)
{
    crt_runtime *rt;
    int before = test_fd_count();
    CHECK_EQ(pipe(gate), 0);
    CHECK_EQ(crt_runtime_new(&(crt_config){.worker_threads = 2, .max_blocking_threads = 1}, &rt), 0);
    run(rt, queued_run);
    crt_runtime_drop(&rt);
    close(gate[0]);
    close(gate[1]);
    CHECK_EQ(test_fd_count(), before);
    CHECK_EQ(entries_in(dir), 0);
}

// --- paths

static char *slashes(char *path)   // as they are elsewhere
{
    for (char *p = path; *p; p++) if (*p == '\\') *p = '/';
    return path;
}

static crt_poll paths_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    in_dir(self->path, "a");
    CRT_AWAIT(self->r = crt_fs_exists(cx, self->path));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_create_dir(cx, self->path, 0700));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_create_dir(cx, self->path, 0700));
    CHECK_EQ(self->r, -EEXIST);
    CRT_AWAIT(self->r = crt_fs_exists(cx, self->path));
    CHECK_EQ(self->r, 1);
    CRT_AWAIT(self->r = crt_fs_lstat(cx, self->path, &self->st));
    CHECK(self->r == 0 && self->st.kind == CRT_FS_DIR && self->st.mode == TEST_DIR_MODE(0700));
    // All of them; with slashes to spare; again.
    CRT_AWAIT(self->r = crt_fs_create_dir_all(cx, in_dir(self->path, "a/b//c/d/"), 0));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_create_dir_all(cx, in_dir(self->path, "a/b/c/d"), 0));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_create_dir_all(cx, "/", 0));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_create_dir_all(cx, "", 0));
    CHECK_EQ(self->r, -ENOENT);
    CRT_AWAIT(self->r = crt_fs_create_dir_all(cx, in_dir(self->path, "mode/m"), 0711));
    CRT_AWAIT(self->w = crt_fs_metadata(cx, self->path, &self->st));
    CHECK(self->r == 0 && self->w == 0 && self->st.mode == TEST_DIR_MODE(0711));
    CRT_AWAIT(self->r = crt_fs_remove_dir_all(cx, in_dir(self->path, "mode")));
    CHECK_EQ(self->r, 0);
#ifndef _WIN32   // where a process is in a directory, that stays
    // In a directory that is no more.
    self->fd = open(".", O_RDONLY | O_CLOEXEC);
    CHECK(!mkdir(in_dir(self->path, "gone"), 0700) && !chdir(self->path) && !rmdir(self->path));
    CRT_AWAIT(self->r = crt_fs_create_dir_all(cx, "x/y", 0));
    CHECK_EQ(self->r, -ENOENT);
    CHECK(!fchdir(self->fd) && !close(self->fd));
#endif
    CRT_AWAIT(self->r = crt_fs_write_file(cx, in_dir(self->path, "a/b/file"), "some data", 9));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_create_dir_all(cx, self->path, 0));
    CHECK_EQ(self->r, -EEXIST);
    CRT_AWAIT(self->r = crt_fs_create_dir_all(cx, in_dir(self->path, "a/b/file/x"), 0));
    CHECK_EQ(self->r, -ENOTDIR);
    CRT_AWAIT(self->r = crt_fs_exists(cx, self->path));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_remove_dir(cx, in_dir(self->path, "a/b")));
    CHECK_EQ(self->r, -ENOTEMPTY);
    in_dir(self->path2, "a/b/file");
    CRT_AWAIT(self->r = crt_fs_canonicalize(cx, in_dir(self->path, "a/../a/./b/file"), &self->text));
    CHECK(self->r == 0 && !strcmp(slashes(self->text + strlen(self->text) - 9), "/a/b/file"));
    crt_free(self->text);
#ifndef _WIN32   // links
    CRT_AWAIT(self->r = crt_fs_symlink(cx, "b/file", in_dir(self->path, "a/link")));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_read_link(cx, self->path, &self->text));
    CHECK(self->r == 0 && !strcmp(self->text, "b/file"));
    crt_free(self->text);
    CRT_AWAIT(self->r = crt_fs_canonicalize(cx, self->path, &self->text));
    CHECK(self->r == 0 && !strcmp(self->text, in_dir(self->path2, "a/b/file")));
    crt_free(self->text);
    CRT_AWAIT(self->r = crt_fs_lstat(cx, self->path, &self->st));
    CHECK(self->r == 0 && self->st.kind == CRT_FS_SYMLINK);
    CRT_AWAIT(self->r = crt_fs_metadata(cx, self->path, &self->st));
    CHECK(self->r == 0 && self->st.kind == CRT_FS_FILE && self->st.size == 9);
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path, &(crt_fs_open_desc){.read = true, .no_follow = true}, &self->f));
    CHECK_EQ(self->r, -ELOOP);
    memset(self->buf, 'x', 500);   // a target longer than the first guess
    self->buf[500] = 0;
    CRT_AWAIT(self->r = crt_fs_symlink(cx, self->buf, in_dir(self->path, "a/long")));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_read_link(cx, self->path, &self->text));
    CHECK(self->r == 0 && !strcmp(self->text, self->buf));
    crt_free(self->text);
    CRT_AWAIT(self->r = crt_fs_exists(cx, self->path));
    CHECK_EQ(self->r, -ENAMETOOLONG);
#endif
    CRT_AWAIT(self->r = crt_fs_read_link(cx, self->path2, &self->text));
    CHECK(self->r == -EINVAL && !self->text);
    CRT_AWAIT(self->r = crt_fs_hard_link(cx, self->path2, in_dir(self->path, "a/hard")));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_metadata(cx, self->path, &self->st));
    CHECK(self->r == 0 && self->st.nlink == 2);
    CRT_AWAIT(self->r = crt_fs_rename(cx, self->path, in_dir(self->path2, "a/moved")));
    CHECK(self->r == 0 && access(self->path, F_OK) && !access(self->path2, F_OK));
    CRT_AWAIT(self->r = crt_fs_set_mode(cx, self->path2, 0604));
    CHECK_EQ(self->r, 0);
    // Copies keep what is inside and the mode.
    CRT_AWAIT(self->r = crt_fs_copy(cx, self->path2, in_dir(self->path, "a/copy"), &self->bytes));
    CHECK(self->r == 0 && self->bytes == 9);
    CRT_AWAIT(self->r = crt_fs_metadata(cx, self->path, &self->st));
    CHECK(self->r == 0 && self->st.mode == TEST_MODE(0604) && self->st.size == 9 && self->st.nlink == 1);
    CRT_AWAIT(self->r = crt_fs_copy(cx, self->path2, in_dir(self->path, "a/b/file"), &self->bytes));
    CHECK_EQ(self->r, CRT_EINVAL);   // the same file
    CRT_AWAIT(self->r = crt_fs_metadata(cx, self->path, &self->st));
    CHECK_EQ(self->st.size, 9);      // and it is whole
    CRT_AWAIT(self->r = crt_fs_copy(cx, dir, self->path, NULL));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_fs_copy(cx, "/nowhere", self->path, NULL));
    CHECK_EQ(self->r, -ENOENT);
    CRT_AWAIT(self->r = crt_fs_copy(cx, self->path, dir, NULL));
    CHECK_EQ(self->r, -EISDIR);
#ifndef _WIN32   // devices, and files that do not know their size
    CRT_AWAIT(self->r = crt_fs_copy(cx, "/proc/self/status", in_dir(self->path, "a/copy"), &self->bytes));
    CHECK(self->r == 0 && self->bytes > 100);   // no size to go by
    CRT_AWAIT(self->r = crt_fs_read_file(cx, self->path, &self->data, &self->n));
    CHECK(self->r == 0 && self->n == self->bytes && strstr(self->data, "Pid:"));
    crt_free(self->data);
    CRT_AWAIT(self->r = crt_fs_copy(cx, self->path, "/dev/full", NULL));
    CHECK_EQ(self->r, -ENOSPC);
#endif
#ifdef __linux__   // what cannot be read, emptied or removed
    // To a name of its own: the copy of status is as little writable as status.
    CRT_AWAIT(self->r = crt_fs_copy(cx, "/proc/self/mem", in_dir(self->path2, "a/memory"), NULL));
    CHECK_EQ(self->r, -EIO);
    self->fd = memfd_create("sealed", MFD_ALLOW_SEALING);
    CHECK(write(self->fd, "x", 1) == 1 && !fcntl(self->fd, F_ADD_SEALS, F_SEAL_SHRINK));
    snprintf(self->path2, sizeof self->path2, "/proc/self/fd/%d", self->fd);
    CRT_AWAIT(self->r = crt_fs_copy(cx, self->path, self->path2, NULL));
    CHECK_EQ(self->r, -EPERM);
    close(self->fd);
    CRT_AWAIT(self->r = crt_fs_remove_dir_all(cx, "/proc/self/exe"));
    CHECK(self->r == -EPERM || self->r == -EACCES);
    CRT_AWAIT(self->r = crt_fs_remove_dir_all(cx, "/proc/self/fdinfo"));
    CHECK(self->r == -EPERM || self->r == -EACCES);
#endif
    CRT_AWAIT(self->r = crt_fs_remove_file(cx, self->path));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_remove_file(cx, self->path));
    CHECK_EQ(self->r, -ENOENT);
    // All below; what a link leads to stays; a link to a directory is only a link.
    CRT_AWAIT(self->r = crt_fs_create_dir(cx, in_dir(self->path, "outside"), 0));
    CRT_AWAIT(self->r = crt_fs_write_file(cx, in_dir(self->path, "outside/stays"), "x", 1));
    in_dir(self->path2, "outside");
#ifndef _WIN32   // links
    CRT_AWAIT(self->r = crt_fs_symlink(cx, self->path2, in_dir(self->path, "a/b/c/out")));
    CHECK_EQ(self->r, 0);
#endif
    CRT_AWAIT(self->r = crt_fs_remove_dir_all(cx, in_dir(self->path, "a/moved")));
    CHECK_EQ(self->r, -ENOTDIR);
    CRT_AWAIT(self->r = crt_fs_remove_dir_all(cx, in_dir(self->path, "a")));
    CHECK(self->r == 0 && access(self->path, F_OK));
    CHECK(!access(in_dir(self->path, "outside/stays"), F_OK));
#ifndef _WIN32   // links
    CRT_AWAIT(self->r = crt_fs_symlink(cx, self->path2, in_dir(self->path, "to")));
    CRT_AWAIT(self->r = crt_fs_remove_dir_all(cx, self->path));
    CHECK(self->r == 0 && access(self->path, F_OK));
    CHECK(!access(in_dir(self->path, "outside/stays"), F_OK));
#endif
    CRT_AWAIT(self->r = crt_fs_remove_dir_all(cx, self->path2));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_remove_dir_all(cx, self->path2));
    CHECK_EQ(self->r, -ENOENT);
    CRT_AWAIT(self->r = crt_fs_rename(cx, self->path2, NULL));
    CHECK_EQ(self->r, CRT_EINVAL);
    // Temporary ones.
    CRT_AWAIT(self->r = crt_fs_temp_file(cx, dir, &self->f, &self->text));
    CHECK(self->r == 0 && self->f && self->text && !strncmp(self->text, dir, strlen(dir)));
    CRT_AWAIT(self->r = crt_file_metadata(cx, self->f, &self->st));
    CHECK(self->st.mode == TEST_MODE(0600) && self->st.nlink == 1);
    CRT_AWAIT(self->r = crt_file_write_all(cx, self->f, "temporary", 9));
    CHECK_EQ(self->r, 9);
    crt_close(&self->f);
    CHECK_EQ(unlink(self->text), 0);
    crt_free(self->text);
    CRT_AWAIT(self->r = crt_fs_temp_file(cx, dir, &self->f, NULL));
    CRT_AWAIT(self->r = crt_file_metadata(cx, self->f, &self->st));
#ifndef _WIN32   // counts those that are about to vanish
    CHECK(self->r == 0 && self->st.nlink == 0);
#endif
    crt_close(&self->f);
    CRT_AWAIT(self->r = crt_fs_temp_dir(cx, dir, &self->text));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_metadata(cx, self->text, &self->st));
    CHECK(self->st.kind == CRT_FS_DIR && self->st.mode == TEST_DIR_MODE(0700));
    CHECK_EQ(rmdir(self->text), 0);
    crt_free(self->text);
    CRT_AWAIT(self->r = crt_fs_temp_dir(cx, "/nowhere", &self->text));
    CHECK(self->r == -ENOENT && !self->text);
#ifndef _WIN32
    // An empty TMPDIR says nothing, and neither does an empty argument.
    CHECK_EQ(setenv("TMPDIR", "", 1), 0);
    for (self->i = 0; self->i < 2; self->i++) {
        CRT_AWAIT(self->r = crt_fs_temp_dir(cx, self->i ? "" : NULL, &self->text));
        CHECK(self->r == 0 && !strncmp(self->text, "/tmp/", 5));
        CHECK_EQ(rmdir(self->text), 0);
        crt_free(self->text);
    }
    unsetenv("TMPDIR");
#endif
    CHECK_EQ(entries_in(dir), 0);
    CRT_END;
}
static void paths(crt_runtime *rt) { run_whole(rt, paths_run); }

// --- directories

static int kind_of(int i)   // of entry i: files and directories, and where there are some, links, and one FIFO
{
    int kind = i == 50 ? CRT_FS_FIFO : i % 3 == 0 ? CRT_FS_FILE : i % 3 == 1 ? CRT_FS_DIR : CRT_FS_SYMLINK;
#ifdef _WIN32
    if (kind != CRT_FS_DIR) kind = CRT_FS_FILE;
#endif
    return kind;
}
static int make_entry(const char *path, int kind)
{
    if (kind == CRT_FS_DIR) return mkdir(path, 0700);
#ifndef _WIN32
    if (kind == CRT_FS_FIFO) return mkfifo(path, 0600);
    if (kind == CRT_FS_SYMLINK) return symlink("x", path);
#endif
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    return fd < 0 ? -1 : close(fd);
}

static crt_poll dirs_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    in_dir(self->path, "dir");
    CRT_AWAIT(self->r = crt_fs_create_dir(cx, self->path, 0));
    CRT_AWAIT(self->r = crt_fs_read_dir(cx, self->path, &self->d));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_dir_next(cx, self->d, &self->e));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_dir_next(cx, self->d, &self->e));
    CHECK_EQ(self->r, 0);
    crt_close(&self->d);
    for (int i = 0; i < 100; i++) {
        snprintf(self->path2, sizeof self->path2, "%.99s/dir/%d", dir, i);
        CHECK_EQ(make_entry(self->path2, kind_of(i)), 0);
    }
    // Every one once, with calls that are given up between.
    CRT_AWAIT(self->r = crt_fs_read_dir(cx, self->path, &self->d));
    CHECK_EQ(self->r, 0);
    for (self->i = 0, self->r = 1; self->r == 1;) {
        CRT_AWAIT(self->w = crt_select_biased(cx, &self->sel,
            crt_on(cx, 0, self->x = crt_dir_next(cx, self->d, &self->e)),
            crt_on(cx, 1, self->y = self->i++ % 2 ? crt_sleep(cx, CRT_SEC(50)) : crt_yield_now(cx))));
        if (self->w) continue;
        self->r = self->x;
        if (self->r != 1) break;
        int k = atoi(self->e.name);
        CHECK(k >= 0 && k < 100);
        self->seen[k]++;
        CHECK_EQ(self->e.kind, kind_of(k));
#ifndef _WIN32   // a directory does not tell it
        CHECK(self->e.ino);
#endif
    }
    CHECK_EQ(self->r, 0);
    for (int i = 0; i < 100; i++) CHECK_EQ(self->seen[i], 1);
    crt_close(&self->d);
    // Names that only begin as those of the directory and of the one above do.
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {".a", "..a", "..._"};   // no dot at the end: Windows cuts it off
        snprintf(self->path2, sizeof self->path2, "%.99s/dir/%s", dir, names[i]);
        CHECK_EQ(make_entry(self->path2, i == 1 ? CRT_FS_DIR : CRT_FS_FILE), 0);
    }
    CRT_AWAIT(self->r = crt_fs_remove_dir_all(cx, self->path));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_read_dir(cx, self->path, &self->d));
    CHECK(self->r == -ENOENT && !self->d);
    CRT_AWAIT(self->r = crt_dir_next(cx, NULL, &self->e));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_FINALLY
        crt_close(&self->d);
    CRT_END;
}
static void directories(crt_runtime *rt) { run_whole(rt, dirs_run); }

// A tree that is deeper than there are descriptors: an error, and nothing is left open.
// On Windows there is no such limit; but its paths are longer than MAX_PATH.
static crt_poll deep_run(void *frame, crt_cx *cx)
{
#ifndef _WIN32
    static struct rlimit old;
#endif
    io *self = frame;
    CRT_BEGIN(self, cx);
    in_dir(self->path, "deep");
    self->n = strlen(self->path);
    self->big = calloc(1, self->n + 400);
    memcpy(self->big, self->path, self->n);
    for (int i = 0; i < 150; i++) memcpy(self->big + self->n + 2 * i, "/d", 2);
    CRT_AWAIT(self->r = crt_fs_create_dir_all(cx, self->big, 0));
    CHECK_EQ(self->r, 0);
#ifndef _WIN32
    getrlimit(RLIMIT_NOFILE, &old);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){100, old.rlim_max});
    CRT_AWAIT(self->r = crt_fs_remove_dir_all(cx, self->path));
    setrlimit(RLIMIT_NOFILE, &old);
    CHECK_EQ(self->r, -EMFILE);
#endif
    CRT_AWAIT(self->r = crt_fs_exists(cx, self->big));
    CHECK_EQ(self->r, 1);
    CRT_AWAIT(self->r = crt_fs_remove_dir_all(cx, self->path));
    CHECK_EQ(self->r, 0);
    CRT_FINALLY
        free(self->big);
    CRT_END;
}
static void a_deep_tree(void)
{
    crt_runtime *rt;
    int before = test_fd_count();
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt), 0);
    run(rt, deep_run);
    crt_runtime_drop(&rt);
    CHECK_EQ(test_fd_count(), before);
}

#ifndef _WIN32   // nothing there has no end
// What has no end stops when nobody waits for it: the shutdown does not hang on it.
static crt_poll endless_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(20),
                                    crt_fs_read_file(cx, "/dev/zero", &self->data, &self->n)));
    CHECK(self->r == CRT_ETIMEDOUT && !self->data);
    // So does a copy of a file with nothing in it, and a terabyte of that.
    self->fd = open(in_dir(self->path, "sparse"), O_CREAT | O_WRONLY, 0600);
    self->i = ftruncate(self->fd, (off_t)1 << 40);
    close(self->fd);
    if (self->i == 0) {
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(20), crt_fs_copy(cx, self->path, "/dev/null", NULL)));
        CHECK_EQ(self->r, CRT_ETIMEDOUT);
    }
    CHECK_EQ(unlink(self->path), 0);
    CRT_END;
}
// A removal that is given up stops between two entries, and can be made again.
BODY(a_removal_that_is_given_up)
{
    enum { MUCH = 300 };
    POLLS;
    bool cut = false;
    char path[200], entry[220];
    in_dir(path, "much");
    for (int i = 0; i < 50 && !cut; i++) {
        if (mkdir(path, 0700)) CHECK_EQ(errno, EEXIST);
        for (int k = 0; k < MUCH; k++) {
            snprintf(entry, sizeof entry, "%.199s/%d", path, k);
            CHECK_EQ(make_entry(entry, CRT_FS_FILE), 0);
        }
        CHECK_EQ(AT(s[0], crt_fs_remove_dir_all(cx, path)), PENDING);
        while (entries_in(path) == MUCH) (void)crt__pool_signal(cx->rt);
        CHECK_EQ(CANCEL(s[0], crt_fs_remove_dir_all(cx, path)), UNWIND);
        while (crt__atomic_load(&cx->rt->pool.outstanding, CRT__ACQUIRE)) test_pause_us(100);
        cut = entries_in(path) > 0;
    }
    CHECK(cut);
    while (AT(s[0], crt_fs_remove_dir_all(cx, path)) == PENDING) (void)crt__pool_signal(cx->rt), test_pause_us(100);
    CHECK(got == 0 && access(path, F_OK));
}
static void an_endless_read_stops(void)
{
    crt_runtime *rt;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt), 0);
    run(rt, endless_run);
    crt_runtime_drop(&rt);
}

#endif

// Two tasks read and write different places of one file at once.
enum { STRIPES = 4, ROUNDS = 50 };
static crt_poll stripe_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < ROUNDS; self->i++) {
        memset(self->buf, 'a' + self->i % 26, 100);
        CRT_AWAIT(self->r = crt_file_pwrite_all(cx, self->f, self->buf, 100, self->at));
        CHECK_EQ(self->r, 100);
        CRT_AWAIT(self->r = crt_file_pread_exact(cx, self->f, self->buf + 100, 100, self->at));
        CHECK(self->r == 100 && !memcmp(self->buf, self->buf + 100, 100));
    }
    CRT_END;
}
static crt_join_handle *stripe_joins[STRIPES];
static crt_poll stripes_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_fs_temp_file(cx, dir, &self->f, NULL));
    for (int i = 0; i < STRIPES; i++)
        CHECK_EQ(crt_spawn_join(cx, &stripe_joins[i], stripe_run, &(io){.f = self->f, .at = 100 * i}), 0);
    for (self->i = 0; self->i < STRIPES; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &stripe_joins[self->i], &self->result));
        CHECK(self->r == 0 && self->result == 0);
    }
    CRT_FINALLY
        crt_close(&self->f);
    CRT_END;
}
static void calls_with_an_offset_run_at_once(crt_runtime *rt) { run_whole(rt, stripes_run); }

#ifdef _WIN32   // no links: there the last of the calls is not made
#define NO_SIZE self->text
#define A_LINK NULL
enum { CALLS = 17 };
#else
#define NO_SIZE "/proc/self/status"
#define A_LINK "/proc/self/exe"
enum { CALLS = 18 };
#endif
// Out of memory at each point in turn: an error, and the file and the turn are as before.
static crt_poll no_memory_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    self->big = calloc(1, 3 << 20);
    CRT_AWAIT(self->r = crt_fs_temp_file(cx, dir, &self->f, &self->text));
    CHECK_EQ(self->r, 0);
    in_dir(self->path, "made");
    in_dir(self->path2, "tree");
    for (self->i = 0; self->i < CALLS * 9; self->i++) {
        // Each with 0 to 8 allocations that succeed.
        self->x = self->i % CALLS;
        if (self->x == 12) CHECK(!mkdir(self->path2, 0700) || errno == EEXIST);
        CRT_AWAIT(self->r = crt_fs_read_dir(cx, dir, &self->d));
        CHECK_EQ(self->r, 0);
        fail_after(self->i / CALLS);
        CRT_AWAIT(self->r = self->x == 0 ? crt_fs_open(cx, self->text, NULL, &self->g)
            : self->x == 1 ? crt_file_pwrite_all(cx, self->f, self->big, 3 << 20, 0)
            : self->x == 2 ? crt_file_pread_exact(cx, self->f, self->big, 3 << 20, 0)
            : self->x == 3 ? crt_file_seek(cx, self->f, 0, CRT_SEEK_SET, NULL)
            : self->x == 4 ? crt_fs_read_dir(cx, dir, &self->d2)
            : self->x == 5 ? crt_fs_canonicalize(cx, self->text, (char **)&self->data)
            : self->x == 6 ? crt_fs_read_file(cx, NO_SIZE, &self->data, &self->n)
            : self->x == 7 ? crt_fs_copy(cx, self->text, self->path, NULL)
            : self->x == 8 ? crt_fs_remove_dir_all(cx, self->path)
            : self->x == 9 ? crt_file_read_exact(cx, self->f, self->big, 3 << 20)
            : self->x == 10 ? crt_fs_temp_file(cx, dir, &self->g, NULL)
            : self->x == 11 ? crt_fs_write_file(cx, self->path, "x", 1)
            : self->x == 12 ? crt_fs_remove_dir_all(cx, self->path2)
            : self->x == 13 ? crt_fs_temp_dir(cx, dir, (char **)&self->data)
            : self->x == 14 ? crt_dir_next(cx, self->d, &self->e)
            : self->x == 15 ? crt_file_sync(cx, self->f)
            : self->x == 16 ? crt_resolve(cx, "localhost:80", &self->addr, 1)
                            : crt_fs_read_link(cx, A_LINK, (char **)&self->data));
        fail_after(-1);
        bool done = self->r >= 0 || (self->x == 8 && (self->r == -ENOTDIR || self->r == -ENOENT));
        CHECK(done || self->r == CRT_ENOMEM || self->r == CRT_EEOF);
        CHECK(self->i < CALLS * 8 || self->r != CRT_ENOMEM);
        if (self->x == 13 && self->r == 0) CHECK_EQ(rmdir(self->data), 0);
        crt_close(&self->g);
        crt_close(&self->d);
        crt_close(&self->d2);
        crt_free(self->data);
        self->data = NULL;
    }
    CRT_FINALLY
        crt_close(&self->f);
        if (self->text) unlink(self->text);
        unlink(self->path);
        crt_free(self->text);
        free(self->big);
        CHECK_EQ(entries_in(dir), 0);
    CRT_END;
}
static void out_of_memory(crt_runtime *rt) { run_whole(rt, no_memory_run); }

// A file's time that 64 bits of nanoseconds do not hold is the last or the first that they do, not one of another century.
static void times_beyond_64_bits(void)
{
#ifndef _WIN32
    const int64_t most = INT64_MAX / 1000000000 - 1;
    CHECK_EQ(crt__ns((struct timespec){.tv_sec = 5, .tv_nsec = 7}), 5000000007);
    if (sizeof(time_t) < 8) return;
    CHECK_EQ(crt__ns((struct timespec){.tv_sec = (time_t)(most + 9), .tv_nsec = 7}), most * 1000000000 + 7);
    CHECK_EQ(crt__ns((struct timespec){.tv_sec = (time_t)(-most - 9), .tv_nsec = 7}), -most * 1000000000 + 7);
#endif
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
#ifndef _WIN32
    umask(022);   // modes are compared
#endif
    if (test_directory(dir, sizeof dir)) return 1;
    TEST_ON_EACH(open_read_write_seek);
    TEST_ON_EACH(several_hops);
    TEST_ON_EACH(one_at_a_time_and_nothing_is_lost);
#ifdef __linux__
    TEST_ON_EACH(a_read_given_up_that_got_nothing);
    TEST_ON_EACH_WITH(a_wait_for_the_turn, .thread_keep_alive = CRT_MS(20));
#endif
    TEST(a_read_given_up_leaves_the_position);
    TEST_ON_EACH(given_up_when_it_has_ended);
    TEST(what_has_not_begun_never_does);
    TEST(without_a_thread_all_in_line_are_told);
    TEST(times_beyond_64_bits);
    TEST_ON_EACH(paths);
    TEST_ON_EACH(directories);
    TEST(a_deep_tree);
#ifndef _WIN32
    TEST(an_endless_read_stops);
    TEST_ON_EACH(a_removal_that_is_given_up);
#endif
    TEST_ON_EACH(calls_with_an_offset_run_at_once);
    TEST_ON_EACH(out_of_memory);
    rmdir(dir);
    return test_end();
}
