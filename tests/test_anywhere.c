// What every reactor and every system has to do, through crt's own calls alone: the same
// program on epoll, on kqueue and on Windows. Loopback and one directory only.
#ifndef CRT_USE_COUNTER
#define CRT_USE_COUNTER   // as MSVC has it; and a macro may await more than once
#endif
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

static char dir[256];   // of this run

typedef struct io {
    crt_frame co;
    crt_listener *l;
    crt_stream *s, *t, *u;
    crt_udp *a, *b;
    crt_file *f, *g;
    crt_dir *d;
    crt_join_handle *join[64], *one;
    crt_timer timer;
    crt_addr at, from;
    
    char buf[1024], name[64], path[400], other[400], *text;
    unsigned char *big;
    void *data;
    size_t n;
    crt_fs_stat st;
    crt_fs_dirent e;
    int64_t position;
    intptr_t result;
    int i, k, seen;
    crt_poll r;
} io;
static void run(crt_runtime *rt, crt_fn fn)
{
    io *frame = calloc(1, sizeof *frame);
    CHECK_EQ(crt_block_on(rt, fn, frame), 0);
    free(frame);
}
// The arms of a connection: a listener, a client and what it accepted.
#define CONNECTED()                                                                        \
    do {                                                                                   \
        CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));            \
        CHECK_EQ(self->r, 0);                                                              \
        CHECK_EQ(crt_local_addr(self->l, &self->at), 0);                                   \
        CHECK(crt_addr_format(&self->at, self->name, sizeof self->name) > 0);              \
        CRT_AWAIT(self->r = crt_tcp_connect(cx, self->name, &self->s));                    \
        CHECK_EQ(self->r, 0);                                                              \
        CRT_AWAIT(self->r = crt_accept(cx, self->l, &self->t, &self->from));               \
        CHECK_EQ(self->r, 0);                                                              \
    } while (0)
#define CLOSED()                                                                           \
    do {                                                                                   \
        crt_close(&self->s);                                                               \
        crt_close(&self->t);                                                               \
        crt_close(&self->l);                                                               \
    } while (0)

// ---- streams

static crt_poll echo_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = crt_read(cx, self->s, self->buf, sizeof self->buf));
        if (self->r <= 0) CRT_RETURN(self->r);
        CRT_AWAIT(self->r = crt_write_all(cx, self->s, self->buf, (size_t)self->r));
        if (self->r < 0) CRT_RETURN(self->r);
    }
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
static crt_poll client_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_connect(cx, self->name, &self->s));
    CHECK_EQ(self->r, 0);
    for (self->i = 0; self->i < 20; self->i++) {
        snprintf(self->path, 100, "client %d says %d and a little more", self->k, self->i);
        CRT_AWAIT(self->r = crt_write_all(cx, self->s, self->path, 60));
        CHECK_EQ(self->r, 60);
        CRT_AWAIT(self->r = crt_read_exact(cx, self->s, self->other, 60));
        CHECK_EQ(self->r, 60);
        CHECK(!memcmp(self->path, self->other, 60));
    }
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
static crt_poll echoes_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    CHECK_EQ(self->r, 0);
    crt_local_addr(self->l, &self->at);
    for (self->i = 0; self->i < 40; self->i++) {
        io c = {.k = self->i};
        crt_addr_format(&self->at, c.name, sizeof c.name);
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], client_run, &c), 0);
    }
    for (self->i = 0; self->i < 40; self->i++) {
        CRT_AWAIT(self->r = crt_accept(cx, self->l, &self->s, NULL));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(crt_spawn(cx, echo_run, &(io){.s = self->s}), 0);
    }
    self->s = NULL;
    for (self->i = 0; self->i < 40; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        CHECK_EQ(self->r, 0);
    }
    CLOSED();
    CRT_END;
}
static void many_clients_get_their_echoes(crt_runtime *rt) { run(rt, echoes_run); }

enum { BIG = 3 << 20 };
static crt_poll pours_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    self->big = malloc(BIG);
    for (size_t i = 0; i < BIG; i++) self->big[i] = (unsigned char)(i * 7 + (i >> 11));
    CRT_AWAIT(self->r = crt_write_all(cx, self->s, self->big, BIG));
    if (self->k) CRT_RETURN(0);   // nobody reads all of that
    CHECK_EQ(self->r, BIG);
    CRT_AWAIT(self->r = crt_shutdown(cx, self->s));
    CHECK_EQ(self->r, 0);
    CRT_FINALLY
        free(self->big);
        crt_close(&self->s);
    CRT_END;
}
// Both directions at once, more than buffers hold; then the ends of both.
static crt_poll flood_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    CONNECTED();
    CHECK_EQ(crt_spawn_join(cx, &self->join[0], pours_run, &(io){.s = crt_stream_clone(self->s)}), 0);
    CHECK_EQ(crt_spawn_join(cx, &self->join[1], pours_run, &(io){.s = crt_stream_clone(self->t)}), 0);
    for (self->k = 0; self->k < 2; self->k++) {
        for (self->n = 0;;) {
            CRT_AWAIT(self->r = crt_read(cx, self->k ? self->s : self->t, self->buf, sizeof self->buf));
            if (self->r <= 0) break;
            for (size_t i = 0; i < (size_t)self->r; i++) {
                size_t at = self->n + i;
                if ((unsigned char)self->buf[i] != (unsigned char)(at * 7 + (at >> 11))) self->seen++;
            }
            self->n += (size_t)self->r;
        }
        CHECK_EQ(self->r, 0);
        CHECK_EQ(self->n, BIG);
    }
    CHECK_EQ(self->seen, 0);
    for (self->k = 0; self->k < 2; self->k++) CRT_AWAIT(crt_join(cx, &self->join[self->k], NULL));
    CLOSED();
    CRT_END;
}
static void both_directions_flood(crt_runtime *rt) { run(rt, flood_run); }

static crt_poll reads_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_read(cx, self->s, self->buf, sizeof self->buf));
    CRT_RETURN(self->r);
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
// A connection that is cut off is an error to who waits, and to who comes later.
static crt_poll reset_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    for (self->k = 0; self->k < 2; self->k++) {
        CONNECTED();
        if (self->k) {
            CHECK_EQ(crt_spawn_join(cx, &self->one, reads_run, &(io){.s = crt_stream_clone(self->t)}), 0);
            CRT_AWAIT(crt_sleep(cx, CRT_MS(20)));   // it waits by now
        }
        CHECK_EQ(crt_stream_set_linger(self->s, 0), 0);
        crt_close(&self->s);
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(5), crt_readable(cx, self->t)));
        CHECK_EQ(self->r, 0);
        if (self->k) {
            CRT_AWAIT(self->r = crt_join(cx, &self->one, &self->result));
            CHECK_EQ(self->r, 0);
            CHECK_EQ(self->result, CRT_ECONNRESET);
        } else {
            CRT_AWAIT(self->r = crt_read(cx, self->t, self->buf, 10));
            CHECK_EQ(self->r, CRT_ECONNRESET);
        }
        CLOSED();
    }
    CRT_END;
}
static void a_reset_is_told(crt_runtime *rt) { run(rt, reset_run); }

static crt_poll refused_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    CONNECTED();
    CLOSED();   // nobody listens there any more
    for (self->i = 0; self->i < 5; self->i++) {
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(20), crt_tcp_connect(cx, self->name, &self->s)));
        CHECK_EQ(self->r, -ECONNREFUSED);
        CHECK(self->s == NULL);
    }
    CRT_END;
}
static void nobody_listens(crt_runtime *rt) { run(rt, refused_run); }

// Reads that give up, again and again: nothing is lost, and what comes is still told.
static crt_poll gives_up_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    CONNECTED();
    for (self->i = 0; self->i < 100; self->i++) {
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_US(self->i * 10), crt_read(cx, self->t, self->buf, 1)));
        CHECK_EQ(self->r, CRT_ETIMEDOUT);
        if (self->i % 3) continue;
        CRT_AWAIT(self->r = crt_write_all(cx, self->s, "xy", 2));
        CHECK_EQ(self->r, 2);
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(5), crt_read_exact(cx, self->t, self->buf, 2)));
        CHECK_EQ(self->r, 2);
    }
    CLOSED();
    CRT_END;
}
static void a_read_that_gives_up_loses_nothing(crt_runtime *rt) { run(rt, gives_up_run); }

// Sockets closed under their waiters, and the next that get the same places.
static crt_poll places_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    for (self->k = 0; self->k < 60; self->k++) {
        CONNECTED();
        CHECK_EQ(crt_spawn_join(cx, &self->one, reads_run, &(io){.s = crt_stream_clone(self->t)}), 0);
        CRT_YIELD();
        if (self->k % 3 == 0) {
            crt_abort(self->one);
        } else {
            CRT_AWAIT(self->r = crt_write_all(cx, self->s, "z", 1));
            CHECK_EQ(self->r, 1);
        }
        if (self->k % 2) CLOSED();
        CRT_AWAIT(self->r = crt_join(cx, &self->one, &self->result));
        if (self->k % 3 == 0) CHECK_EQ(self->r, CRT_ECANCELED);
        else CHECK(self->r == 0 && (self->result == 1 || self->result == 0 || self->result == CRT_ECONNRESET));
        CLOSED();
    }
    CRT_END;
}
static void places_change_hands(crt_runtime *rt) { run(rt, places_run); }

static crt_poll pieces_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    crt_iovec out[3] = {{"one", 3}, {"", 0}, {"three", 5}}, in[2] = {{self->buf, 4}, {self->other, 100}};
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->s, &self->t), 0);
    CRT_AWAIT(self->r = crt_writev(cx, self->s, out, 3));
    CHECK_EQ(self->r, 8);
    CRT_AWAIT(self->r = crt_peek(cx, self->t, self->path, 100));
    CHECK(self->r >= 3 && !memcmp(self->path, "one", 3));
    CRT_AWAIT(self->r = crt_readv(cx, self->t, in, 2));
    CHECK_EQ(self->r, 8);
    CHECK(!memcmp(self->buf, "onet", 4) && !memcmp(self->other, "hree", 4));
    CHECK_EQ(crt_try_read(self->t, self->buf, 1), CRT_EAGAIN);
    crt_close(&self->s);
    CRT_AWAIT(self->r = crt_read(cx, self->t, self->buf, 10));
    CHECK_EQ(self->r, 0);
    crt_close(&self->t);
    CRT_END;
}
static void pieces_and_pairs(crt_runtime *rt) { run(rt, pieces_run); }

static crt_poll pipe_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_pipe(cx, &self->s, &self->t), 0);
    // Each end goes one way, and says so at once.
    CRT_AWAIT(self->r = crt_write_all(cx, self->s, "back", 4));
    CHECK_EQ(self->r, -EBADF);
    CRT_AWAIT(self->r = crt_read(cx, self->t, self->buf, 1));
    CHECK_EQ(self->r, -EBADF);
    CHECK_EQ(crt_spawn_join(cx, &self->one, pours_run, &(io){.s = crt_stream_clone(self->t)}), 0);
    crt_close(&self->t);
    for (self->n = 0;; self->n += (size_t)self->r) {
        CRT_AWAIT(self->r = crt_read(cx, self->s, self->buf, sizeof self->buf));
        if (self->r <= 0) break;
        for (size_t i = 0; i < (size_t)self->r; i++)
            if ((unsigned char)self->buf[i] != (unsigned char)((self->n + i) * 7 + ((self->n + i) >> 11))) self->seen++;
    }
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->n, BIG);
    CHECK_EQ(self->seen, 0);
    CRT_AWAIT(crt_join(cx, &self->one, NULL));
    crt_close(&self->s);
    // Who reads goes: who writes is told, at the next write; on Windows once the read that was given up has ended.
    CHECK_EQ(crt_pipe(cx, &self->s, &self->t), 0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(10), crt_read(cx, self->s, self->buf, 1)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    crt_close(&self->s);
    for (self->i = 0, self->r = 1; self->i < 2000 && self->r > 0; self->i++) {
        CRT_AWAIT(self->r = crt_write(cx, self->t, "x", 1));
        if (self->r > 0) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    }
    CHECK_EQ(self->r, -EPIPE);
    crt_close(&self->t);
    CRT_END;
}
static void pipes(crt_runtime *rt) { run(rt, pipe_run); }

static crt_poll udp_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_udp_bind(cx, "127.0.0.1:0", &self->a));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_udp_bind(cx, "127.0.0.1:0", &self->b));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_udp_local_addr(self->b, &self->at), 0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5),
                                    crt_udp_recv_from(cx, self->b, self->buf, 10, &self->from)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    for (self->i = 0; self->i < 20; self->i++) {
        CRT_AWAIT(self->r = crt_udp_send_to(cx, self->a, "datagram", 8, &self->at));
        CHECK_EQ(self->r, 8);
        CRT_AWAIT(self->r = crt_udp_recv_from(cx, self->b, self->buf, self->i % 2 ? 3 : 100, &self->from));
        CHECK_EQ(self->r, self->i % 2 ? 3 : 8);
        CHECK(!memcmp(self->buf, "dat", 3));
        CHECK(crt_addr_port(&self->from) > 0);
    }
    crt_udp_close(&self->a);
    crt_udp_close(&self->b);
    CRT_END;
}
static void datagrams(crt_runtime *rt) { run(rt, udp_run); }

// A runtime that ends under tasks that wait for sockets and pipes.
static crt_poll left_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    CONNECTED();
    CHECK_EQ(crt_spawn(cx, echo_run, &(io){.s = crt_stream_clone(self->t)}), 0);
    CHECK_EQ(crt_spawn(cx, echo_run, &(io){.s = crt_stream_clone(self->s)}), 0);
    crt_close(&self->s);
    crt_close(&self->t);
    CHECK_EQ(crt_pipe(cx, &self->s, &self->t), 0);
    CHECK_EQ(crt_spawn(cx, pours_run, &(io){.s = self->t, .k = 1}), 0);
    CHECK_EQ(crt_pipe(cx, &self->u, &self->t), 0);
    CHECK_EQ(crt_spawn(cx, reads_run, &(io){.s = self->u}), 0);
    self->u = NULL;
    CRT_AWAIT(crt_sleep(cx, CRT_MS(20)));
    CLOSED();
    CRT_END;
}
static void a_runtime_ends_under_waiters(crt_runtime *rt) { run(rt, left_run); }

// ---- files

static crt_poll files_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    snprintf(self->path, sizeof self->path, "%s/a file \xc3\xa9.txt", dir);
    snprintf(self->other, sizeof self->other, "%s/other", dir);
    CRT_AWAIT(self->r = crt_fs_read_file(cx, self->path, &self->data, &self->n));
    CHECK_EQ(self->r, -ENOENT);
    CRT_AWAIT(self->r = crt_fs_write_file(cx, self->path, "0123456789", 10));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_read_file(cx, self->path, &self->data, &self->n));
    CHECK_EQ(self->r, 0);
    CHECK(self->n == 10 && !memcmp(self->data, "0123456789", 10));
    CRT_FREE(self->data);
    CRT_AWAIT(self->r = crt_fs_metadata(cx, self->path, &self->st));
    CHECK(self->r == 0 && self->st.size == 10 && self->st.kind == CRT_FS_FILE);
    CHECK(self->st.mtime_ns > CRT_SEC(1000000000));
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path, &(crt_fs_open_desc){.read = true, .write = true}, &self->f));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_file_read(cx, self->f, self->buf, 3));
    CHECK(self->r == 3 && !memcmp(self->buf, "012", 3));
    CRT_AWAIT(self->r = crt_file_pread(cx, self->f, self->buf, 2, 8));   // and the position stays
    CHECK(self->r == 2 && !memcmp(self->buf, "89", 2));
    CRT_AWAIT(self->r = crt_file_read(cx, self->f, self->buf, 3));
    CHECK(self->r == 3 && !memcmp(self->buf, "345", 3));
    CRT_AWAIT(self->r = crt_file_pwrite_all(cx, self->f, "ab", 2, 0));
    CHECK_EQ(self->r, 2);
    CRT_AWAIT(self->r = crt_file_seek(cx, self->f, -1, CRT_SEEK_END, &self->position));
    CHECK(self->r == 0 && self->position == 9);
    CRT_AWAIT(self->r = crt_file_write_all(cx, self->f, "XYZ", 3));
    CHECK_EQ(self->r, 3);
    CRT_AWAIT(self->r = crt_file_read(cx, self->f, self->buf, 3));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_file_set_len(cx, self->f, 11));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_file_sync(cx, self->f));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_file_pread(cx, self->f, self->buf, 100, 0));
    CHECK(self->r == 11 && !memcmp(self->buf, "ab2345678XY", 11));
    crt_file_close(&self->f);
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path, &(crt_fs_open_desc){.append = true}, &self->f));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_file_write_all(cx, self->f, "end", 3));
    CHECK_EQ(self->r, 3);
    crt_file_close(&self->f);
    CRT_AWAIT(self->r = crt_fs_copy(cx, self->path, self->other, NULL));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_open(cx, self->other, &(crt_fs_open_desc){.write = true, .create_new = true}, &self->f));
    CHECK_EQ(self->r, -EEXIST);
    CRT_AWAIT(self->r = crt_fs_rename(cx, self->other, self->path));   // over what is there
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_exists(cx, self->other));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_metadata(cx, self->path, &self->st));
    CHECK(self->r == 0 && self->st.size == 14);
    CRT_AWAIT(self->r = crt_fs_remove_dir(cx, self->path));
    CHECK_EQ(self->r, -ENOTDIR);
    CRT_AWAIT(self->r = crt_fs_remove_file(cx, self->path));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_remove_file(cx, self->path));
    CHECK_EQ(self->r, -ENOENT);
    CRT_END;
}
static void files(crt_runtime *rt) { run(rt, files_run); }

static crt_poll dirs_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    snprintf(self->path, sizeof self->path, "%s/d/e/f", dir);
    CRT_AWAIT(self->r = crt_fs_create_dir(cx, self->path, 0));
    CHECK_EQ(self->r, -ENOENT);
    CRT_AWAIT(self->r = crt_fs_create_dir_all(cx, self->path, 0));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_create_dir(cx, self->path, 0));
    CHECK_EQ(self->r, -EEXIST);
    for (self->i = 0; self->i < 70; self->i++) {
        snprintf(self->other, sizeof self->other, "%s/d/e/f/file %d", dir, self->i);
        CRT_AWAIT(self->r = crt_fs_write_file(cx, self->other, "x", 1));
        CHECK_EQ(self->r, 0);
    }
    CRT_AWAIT(self->r = crt_fs_read_dir(cx, self->path, &self->d));
    CHECK_EQ(self->r, 0);
    for (self->seen = 0;; self->seen++) {
        CRT_AWAIT(self->r = crt_dir_next(cx, self->d, &self->e));
        if (self->r != 1) break;
        CHECK(!strncmp(self->e.name, "file ", 5) && self->e.kind == CRT_FS_FILE);
    }
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->seen, 70);
    crt_dir_close(&self->d);
    CRT_AWAIT(self->r = crt_fs_canonicalize(cx, self->path, &self->text));
    CHECK(self->r == 0 && self->text && strlen(self->text) >= 6);
    CRT_FREE(self->text);
    CRT_AWAIT(self->r = crt_fs_remove_dir(cx, self->path));
    CHECK_EQ(self->r, -ENOTEMPTY);
    snprintf(self->path, sizeof self->path, "%s/d", dir);
    CRT_AWAIT(self->r = crt_fs_remove_dir_all(cx, self->path));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_exists(cx, self->path));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_temp_file(cx, dir, &self->f, NULL));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_file_write_all(cx, self->f, "temporary", 9));
    CHECK_EQ(self->r, 9);
    CRT_AWAIT(self->r = crt_file_seek(cx, self->f, 0, CRT_SEEK_SET, NULL));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_file_read_exact(cx, self->f, self->buf, 9));
    CHECK(self->r == 9 && !memcmp(self->buf, "temporary", 9));
    crt_file_close(&self->f);
    CRT_END;
}
static void directories(crt_runtime *rt) { run(rt, dirs_run); }

// ---- child processes: this program, asked for something else

static const char *self_path;

static crt_poll copies_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    if (crt_stdin(cx, &self->s) || crt_stdout(cx, &self->t)) CRT_RETURN(1);
    for (;;) {
        CRT_AWAIT(self->r = crt_read(cx, self->s, self->buf, sizeof self->buf));
        if (self->r <= 0) break;
        CRT_AWAIT(self->r = crt_write_all(cx, self->t, self->buf, (size_t)self->r));
    }
    CRT_AWAIT(self->r = crt_flush(cx, self->t));
    CRT_RETURN(self->r ? 2 : 0);
    CRT_FINALLY
        crt_close(&self->s);
        crt_close(&self->t);
    CRT_END;
}
static int child(int argc, char **argv)
{
    if (!strcmp(argv[2], "exit")) return atoi(argv[3]);
    if (!strcmp(argv[2], "sleep")) {
        for (int i = 0; i < 3000; i++) test_pause_us(10000);
    } else if (!strcmp(argv[2], "args")) {
        const char *x = getenv("CRT_TEST_X");
        for (int i = 3; i < argc; i++) printf("[%s]", argv[i]);
        printf("{%s}", x ? x : "none");
    } else if (!strcmp(argv[2], "copy")) {
        crt_runtime *rt;
        io *frame = calloc(1, sizeof *frame);
        if (!frame || crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt)) return 9;
        int code = (int)crt_block_on(rt, copies_run, frame);
        crt_runtime_drop(&rt);
        free(frame);
        return code;
    }
    return 0;
}
typedef struct kids {
    crt_frame co;
    crt_process *p;
    crt_process_desc desc;
    crt_exit_status status;
    crt_output output;
    crt_stream *out;
    crt_timer timer;
    char buf[100];
    unsigned char *big;
    int i;
    crt_poll r;
} kids;
#define CHILD(...) (const char *const[]){self_path, "--child", __VA_ARGS__, NULL}
static crt_poll ends_run(void *frame, crt_cx *cx)
{
    static const char *const nothing[] = {"crt-no-such-program", NULL};
    kids *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_process_spawn(cx, &(crt_process_desc){.argv = CHILD("exit", "7")}, &self->p));
    CHECK_EQ(self->r, 0);
    CHECK(crt_process_id(self->p) > 0);
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->status.code, 7);
    CHECK_EQ(self->status.signal, 0);
    crt_process_close(&self->p);
    CRT_AWAIT(self->r = crt_process_spawn(cx, &(crt_process_desc){.argv = CHILD("sleep")}, &self->p));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_process_try_wait(self->p, &self->status), 0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_process_wait(cx, self->p, &self->status)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(crt_process_kill(self->p), 0);
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->status));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->status.signal, 9);
    crt_process_close(&self->p);
    CRT_AWAIT(self->r = crt_process_spawn(cx, &(crt_process_desc){.argv = nothing}, &self->p));
    CHECK_EQ(self->r, -ENOENT);
    CHECK(self->p == NULL);
    // Its end of the pipe tells that it is gone.
    self->desc = (crt_process_desc){.kill_on_drop = true, .out.kind = CRT_STDIO_PIPE};
    CRT_AWAIT(self->desc.argv = CHILD("sleep"), self->r = crt_process_spawn(cx, &self->desc, &self->p));
    CHECK_EQ(self->r, 0);
    self->out = crt_process_take_stdout(self->p);
    crt_process_close(&self->p);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(10), crt_read(cx, self->out, self->buf, 10)));
    CHECK_EQ(self->r, 0);
    crt_close(&self->out);
    CRT_END;
}
static void children_end(crt_runtime *rt)
{
    kids f = {.i = 0};
    CHECK_EQ(crt_block_on(rt, ends_run, &f), 0);
}
static crt_poll outputs_run(void *frame, crt_cx *cx)
{
    kids *self = frame;
    static const char *const env[] = {"CRT_TEST_X=an \xc3\xa9", NULL};
    CRT_BEGIN(self, cx);
    self->desc = (crt_process_desc){.env = env};
    CRT_AWAIT(self->desc.argv = CHILD("args", "a b", "", "\"q\"", "back\\slash\\", "\\\\\"", "tab\t"),
              self->r = crt_process_output(cx, &self->desc, &self->output));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->output.status.code, 0);
    {
        static const char want[] = "[a b][][\"q\"][back\\slash\\][\\\\\"][tab\t]{";
        CHECK(self->output.out_n > sizeof want && !memcmp(self->output.out, want, sizeof want - 1));
    }
    crt_output_free(&self->output);
    self->big = malloc(300000);
    for (int i = 0; i < 300000; i++) self->big[i] = (unsigned char)('a' + i % 23);
    self->output.input = self->big;
    self->output.input_n = 300000;
    CRT_AWAIT(self->r = crt_process_output(cx, &(crt_process_desc){.argv = CHILD("copy")}, &self->output));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->output.status.code, 0);
    CHECK_EQ(self->output.out_n, 300000);
    CHECK(self->output.out_n == 300000 && !memcmp(self->output.out, self->big, 300000));
    crt_output_free(&self->output);
    free(self->big);
    CRT_END;
}
static void children_are_talked_to(crt_runtime *rt)
{
    kids *f = calloc(1, sizeof *f);
    CHECK_EQ(crt_block_on(rt, outputs_run, f), 0);
    free(f);
}

static crt_poll place_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_fs_temp_dir(cx, NULL, &self->text));
    CHECK_EQ(self->r, 0);
    if (self->text) snprintf(dir, sizeof dir, "%s", self->text);
    CRT_FREE(self->text);
    CRT_END;
}
static crt_poll clear_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_fs_remove_dir_all(cx, dir));
    CHECK_EQ(self->r, 0);
    CRT_END;
}

int main(int argc, char **argv)
{
    crt_runtime *rt;
    if (argc > 2 && !strcmp(argv[1], "--child")) return child(argc, argv);
    self_path = argv[0];
    test_init(argc, argv);
    if (crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt)) return 1;
    run(rt, place_run);
    TEST_ON_EACH(many_clients_get_their_echoes);
    TEST_ON_EACH(both_directions_flood);
    TEST_ON_EACH(a_reset_is_told);
    TEST_ON_EACH(nobody_listens);
    TEST_ON_EACH(a_read_that_gives_up_loses_nothing);
    TEST_ON_EACH(places_change_hands);
    TEST_ON_EACH(pieces_and_pairs);
    TEST_ON_EACH(pipes);
    TEST_ON_EACH(datagrams);
    TEST_ON_EACH(a_runtime_ends_under_waiters);
    TEST_ON_EACH(files);
    TEST_ON_EACH(directories);
    TEST_ON_EACH(children_end);
    TEST_ON_EACH(children_are_talked_to);
    run(rt, clear_run);
    crt_runtime_drop(&rt);
    return test_end();
}
