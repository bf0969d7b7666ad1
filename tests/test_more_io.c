// Datagrams, Unix sockets, names, whole files: what they give, and what they say to
// bad input. Loopback and a directory of its own under /tmp only.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

#include <dirent.h>
#include <sys/stat.h>

#ifdef _WIN32
#define SYSTEM_FILE "C:/windows/win.ini"   // there always
#define SYSTEM_DIRECTORY "C:/windows"
#else
#define SYSTEM_FILE "/proc/self/status"
#define SYSTEM_DIRECTORY "/proc"
#endif
static char dir[150];   // the directory of this run
static int open_descriptors(void)
{
#ifdef _WIN32
    return 0;   // the count of handles there has threads in it, and what the system keeps
#endif
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    if (!d) return -1;
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

#ifndef _WIN32
enum { UNIX_ROOM = sizeof(((struct sockaddr_un *)0)->sun_path) };   // 108 on Linux, 104 on the BSDs
#endif

typedef struct io {
    crt_frame co;
    crt_udp *a, *b;
    crt_addr at_a, at_b, from, list[8];
    crt_listener *l;
    crt_stream *s, *t;
    crt_timer timer;
    CRT_SELECT(2) sel;
    char buf[256], path[200], text[80];
    void *data, *big;
    size_t n;
    int i;
    crt_poll r, w, x, y;
} io;
static void run(crt_runtime *rt, crt_fn fn)
{
    static io frame;
    memset(&frame, 0, sizeof frame);
    CHECK_EQ(crt_block_on(rt, fn, &frame), 0);
}

// --- UDP

static crt_poll udp_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_udp_bind(cx, "localhost", &self->a));
    CHECK_EQ(self->r, CRT_EINVAL);
    CHECK(!self->a);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(20), crt_udp_bind(cx, "no such name:80", &self->a)));
    CHECK_EQ(self->r, CRT_ENOTFOUND);
    CRT_AWAIT(self->r = crt_udp_bind(cx, "localhost:0", &self->a));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_local_addr(self->a, &self->at_a), 0);
    CHECK(crt_addr_port(&self->at_a) > 0);
    crt_close(&self->a);
    CRT_AWAIT(self->r = crt_udp_bind(cx, "127.0.0.1:0", &self->a));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_udp_bind(cx, "127.0.0.1:0", &self->b));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_local_addr(self->a, &self->at_a), 0);
    CHECK_EQ(crt_local_addr(self->b, &self->at_b), 0);
    CHECK(crt_addr_port(&self->at_a) > 0 && crt_addr_port(&self->at_a) != crt_addr_port(&self->at_b));
    // Taken.
    CHECK(crt_addr_format(&self->at_a, self->text, sizeof self->text) > 0);
    CRT_AWAIT(self->r = crt_udp_bind(cx, self->text, (crt_udp **)&self->data));
    CHECK_EQ(self->r, -EADDRINUSE);
    // Boundaries are kept; an empty datagram is one; who sent it is told.
    CRT_AWAIT(self->r = crt_udp_send_to(cx, self->a, "first", 5, &self->at_b));
    CHECK_EQ(self->r, 5);
    CRT_AWAIT(self->r = crt_udp_send_to(cx, self->a, NULL, 0, &self->at_b));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_udp_send_to(cx, self->a, "a long one", 10, &self->at_b));
    CHECK_EQ(self->r, 10);
    CRT_AWAIT(self->r = crt_udp_recv_from(cx, self->b, self->buf, sizeof self->buf, &self->from));
    CHECK(self->r == 5 && !memcmp(self->buf, "first", 5));
    CHECK(self->from.len == self->at_a.len && crt_addr_port(&self->from) == crt_addr_port(&self->at_a));
    CRT_AWAIT(self->r = crt_udp_recv_from(cx, self->b, self->buf, sizeof self->buf, NULL));
    CHECK_EQ(self->r, 0);
    memset(self->buf, '.', sizeof self->buf);
    CRT_AWAIT(self->r = crt_udp_recv(cx, self->b, self->buf, 6));   // cut off
    CHECK(self->r == 6 && !memcmp(self->buf, "a long.", 7));
    // A wait for a datagram, cut short and then answered.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(2), crt_udp_recv(cx, self->b, self->buf, 9)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);   // the rest of the long one is gone
    CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
        crt_on(cx, 0, self->x = crt_udp_recv_from(cx, self->b, self->buf, sizeof self->buf, &self->from)),
        crt_on(cx, 1, self->y = crt_udp_send_to(cx, self->a, "late", 4, &self->at_b))));
    CHECK(self->x == 4 && self->y == 4 && !memcmp(self->buf, "late", 4));
    // Too much for one datagram; no address.
    self->big = calloc(1, 70000);
    CRT_AWAIT(self->r = crt_udp_send_to(cx, self->a, self->big, 70000, &self->at_b));
    CHECK_EQ(self->r, -EMSGSIZE);
    free(self->big);
    CRT_AWAIT(self->r = crt_udp_send_to(cx, self->a, "x", 1, NULL));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_udp_send(cx, self->a, "x", 1));
#ifdef _WIN32
    CHECK(self->r < 0 && self->r != CRT_EAGAIN);   // ENOTCONN there; EINVAL under wine
#else
    CHECK_EQ(self->r, -EDESTADDRREQ);
#endif
    // A connected one sends without an address and hears its peer only.
    CRT_AWAIT(self->r = crt_udp_connect(cx, self->a, &self->at_b));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_udp_send(cx, self->a, "hello", 5));
    CHECK_EQ(self->r, 5);
    CRT_AWAIT(self->r = crt_udp_recv(cx, self->b, self->buf, sizeof self->buf));
    CHECK_EQ(self->r, 5);
#ifndef _WIN32   // where crt switches it off (SIO_UDP_CONNRESET): one peer must not stop a server
    // Nobody there any more: the next receive says so, and is not stuck on it.
    crt_close(&self->b);
    CRT_AWAIT(self->r = crt_udp_send(cx, self->a, "x", 1));
    CHECK_EQ(self->r, 1);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(5), crt_udp_recv(cx, self->a, self->buf, 9)));
    CHECK_EQ(self->r, -ECONNREFUSED);
#endif
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(2), crt_udp_recv(cx, self->a, self->buf, 9)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CRT_AWAIT(self->r = crt_udp_recv(cx, NULL, self->buf, 9));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_FINALLY
        crt_close(&self->a);
        crt_close(&self->b);
    CRT_END;
}
static void udp(crt_runtime *rt)
{
    int before = open_descriptors();
    run(rt, udp_run);
    CHECK_EQ(open_descriptors(), before);
}

// --- Unix sockets

#ifndef _WIN32   // Windows has them since 2018, wine has not; test_anywhere looks for them
static crt_poll unix_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 1 + CRT__UNIX_ABSTRACT; self->i++) {   // a file, an abstract name
        if (self->i) snprintf(self->path, sizeof self->path, "@crt-test-%d", (int)getpid());
        else snprintf(self->path, sizeof self->path, "%s/sock", dir);
        CRT_AWAIT(self->r = crt_unix_connect(cx, self->path, &self->s));
        CHECK_EQ(self->r, self->i ? -ECONNREFUSED : -ENOENT);
        CHECK(!self->s);
        CRT_AWAIT(self->r = crt_unix_listen(cx, self->path, NULL, &self->l));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(access(self->path, F_OK), self->i ? -1 : 0);
        CRT_AWAIT(self->r = crt_unix_listen(cx, self->path, NULL, (crt_listener **)&self->data));
        CHECK_EQ(self->r, -EADDRINUSE);
        CHECK(!self->data);
        CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
            crt_on(cx, 0, self->x = crt_accept(cx, self->l, &self->t, NULL)),
            crt_on(cx, 1, self->y = crt_unix_connect(cx, self->path, &self->s))));
        CHECK(self->x == 0 && self->y == 0);
        CRT_AWAIT(self->r = crt_write_all(cx, self->s, "over here", 9));
        CHECK_EQ(self->r, 9);
        CRT_AWAIT(self->r = crt_read_exact(cx, self->t, self->buf, 9));
        CHECK(self->r == 9 && !memcmp(self->buf, "over here", 9));
        crt_close(&self->s);
        CRT_AWAIT(self->r = crt_read(cx, self->t, self->buf, 9));
        CHECK_EQ(self->r, 0);
        crt_close(&self->t);
        crt_close(&self->l);
        CHECK_EQ(access(self->path, F_OK), self->i ? -1 : 0);   // a file is left behind
        CRT_AWAIT(self->r = crt_unix_connect(cx, self->path, &self->s));
        CHECK_EQ(self->r, -ECONNREFUSED);
        if (!self->i) CHECK_EQ(unlink(self->path), 0);
    }
    // Too long by one, the longest, empty, NULL.
    memset(self->path, '/', sizeof self->path);
    if (CRT__UNIX_ABSTRACT) memset(self->path, 'x', sizeof self->path), self->path[0] = '@';
    else memcpy(self->path + UNIX_ROOM - 6 - strlen(dir), dir, strlen(dir)), memcpy(self->path + UNIX_ROOM - 5, "long", 4);
    self->path[UNIX_ROOM] = 0;
    CRT_AWAIT(self->r = crt_unix_listen(cx, self->path, NULL, &self->l));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_unix_connect(cx, self->path, &self->s));
    CHECK_EQ(self->r, CRT_EINVAL);
    self->path[UNIX_ROOM - 1] = 0;
    CRT_AWAIT(self->r = crt_unix_listen(cx, self->path, NULL, &self->l));
    CHECK_EQ(self->r, 0);
    crt_close(&self->l);
    if (!CRT__UNIX_ABSTRACT) CHECK_EQ(unlink(self->path), 0);
    CRT_AWAIT(self->r = crt_unix_listen(cx, "", NULL, &self->l));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_unix_connect(cx, NULL, &self->s));
    CHECK_EQ(self->r, CRT_EINVAL);
    CHECK(!self->s && !self->l);
    CRT_FINALLY
        crt_close(&self->s);
        crt_close(&self->t);
        crt_close(&self->l);
    CRT_END;
}
static void unix_sockets(crt_runtime *rt)
{
    int before = open_descriptors();
    run(rt, unix_run);
    CHECK_EQ(open_descriptors(), before);
}
#endif

// --- names

static const char *const bad_names[] = {
    "", ":", ":80", "localhost", "localhost:", "localhost:x", "localhost:-1", "localhost:65536",
    "localhost:80x", "[::1", "[::1]", "[zz]:80", "::1:80", "a:b:80", "localhost: 80",
};
static crt_poll names_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < (int)(sizeof bad_names / sizeof bad_names[0]); self->i++) {
        CRT_AWAIT(self->r = crt_resolve(cx, bad_names[self->i], self->list, 8));
        if (self->r != CRT_EINVAL) fprintf(stderr, "\"%s\": %d\n", bad_names[self->i], (int)self->r);
        CHECK_EQ(self->r, CRT_EINVAL);
        CRT_AWAIT(self->r = crt_tcp_connect(cx, bad_names[self->i], &self->s));
        CHECK_EQ(self->r, CRT_EINVAL);
        CHECK(!self->s);
    }
    CRT_AWAIT(self->r = crt_resolve(cx, NULL, self->list, 8));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_resolve(cx, "127.0.0.1:80", self->list, 8));
    CHECK_EQ(self->r, 1);
    CHECK(crt_addr_format(&self->list[0], self->text, sizeof self->text) > 0);
    CHECK(!strcmp(self->text, "127.0.0.1:80"));
    CRT_AWAIT(self->r = crt_resolve(cx, "[::1]:443", self->list, 8));
    CHECK_EQ(self->r, 1);
    CHECK(crt_addr_format(&self->list[0], self->text, sizeof self->text) > 0);
    CHECK(!strcmp(self->text, "[::1]:443"));
    CRT_AWAIT(self->r = crt_resolve(cx, "localhost:81", self->list, 8));
    CHECK(self->r >= 1 && self->r <= 8);
    for (int i = 0; i < self->r; i++) CHECK_EQ(crt_addr_port(&self->list[i]), 81);
    memset(self->list, 0x55, sizeof self->list);
    CRT_AWAIT(self->r = crt_resolve(cx, "localhost:81", self->list, 1));
    CHECK_EQ(self->r, 1);
    CHECK_EQ(self->list[1].len, 0x55555555);   // no more than max
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(20), crt_resolve(cx, "no such name:80", self->list, 8)));
    CHECK_EQ(self->r, CRT_ENOTFOUND);   // a space is refused before anybody is asked
    // A lookup that nobody waits for any more.
    for (self->i = 0; self->i < 20; self->i++) {
        CRT_AWAIT(self->w = crt_select_biased(cx, &self->sel,
            crt_on(cx, 0, self->x = crt_resolve(cx, "localhost:81", self->list, 8)),
            crt_on(cx, 1, crt_yield_now(cx))));
        CHECK(self->w == 1 || self->x >= 1);
    }
    // A listener by name; one that is taken; a lookup for one that nobody waits for any more.
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "localhost:0", NULL, &self->l));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_local_addr(self->l, &self->at_a), 0);
    CHECK(crt_addr_format(&self->at_a, self->text, sizeof self->text) > 0);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, self->text, NULL, (crt_listener **)&self->data));
    CHECK_EQ(self->r, -EADDRINUSE);
    CRT_AWAIT(self->w = crt_select_biased(cx, &self->sel,
        crt_on(cx, 0, self->x = crt_tcp_listen(cx, "localhost:0", NULL, (crt_listener **)&self->data)),
        crt_on(cx, 1, crt_yield_now(cx))));
    CHECK(self->w == 1 || self->x == 0);
    if (self->w == 0) crt_close((crt_listener **)&self->data);
    CHECK(!self->data);
    crt_close(&self->l);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_local_addr(self->l, &self->at_a), 0);
    snprintf(self->path, sizeof self->path, "localhost:%d", crt_addr_port(&self->at_a));
    CRT_AWAIT(self->r = crt_tcp_connect(cx, self->path, &self->s));   // tries ::1 first, maybe
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_accept(cx, self->l, &self->t, NULL));
    CHECK_EQ(self->r, 0);
    crt_close(&self->l);
    crt_close(&self->s);
    crt_close(&self->t);
    CRT_AWAIT(self->r = crt_tcp_connect(cx, self->path, &self->s));
    CHECK_EQ(self->r, -ECONNREFUSED);
    CHECK(!self->s);
    CRT_FINALLY
        crt_close(&self->l);
        crt_close(&self->s);
        crt_close(&self->t);
    CRT_END;
}
static void names(crt_runtime *rt) { run(rt, names_run); }

// --- files

static crt_poll files_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    snprintf(self->path, sizeof self->path, "%s/file", dir);
    self->big = malloc(300000);
    for (int i = 0; i < 300000; i++) ((char *)self->big)[i] = (char)(i * 7 + i / 251);
    // Sizes around the blocks of the reader; each write replaces what was there.
    static const size_t sizes[] = {300000, 4096, 4095, 4097, 1, 0};
    for (self->i = 0; self->i < 6; self->i++) {
        CRT_AWAIT(self->r = crt_fs_write_file(cx, self->path, sizes[self->i] ? self->big : NULL, sizes[self->i]));
        CHECK_EQ(self->r, 0);
        CRT_AWAIT(self->r = crt_fs_read_file(cx, self->path, &self->data, &self->n));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(self->n, sizes[self->i]);
        CHECK(self->data && !memcmp(self->data, self->big, self->n) && ((char *)self->data)[self->n] == 0);
        if (self->data) CRT_FREE(self->data);
        self->data = NULL;
    }
#ifndef _WIN32
    // What /proc gives has no size to ask for.
    CRT_AWAIT(self->r = crt_fs_read_file(cx, "/proc/self/status", &self->data, &self->n));
    CHECK_EQ(self->r, 0);
    CHECK(self->data && self->n > 100 && strlen(self->data) == self->n && strstr(self->data, "Pid:"));
    if (self->data) CRT_FREE(self->data);
#endif
    // Errors: nothing is handed out.
    static const char *const dirs[] = {"/", "/.", SYSTEM_DIRECTORY, dir};
    for (self->i = 0; self->i < 4; self->i++) {
        self->data = self;
        self->n = 5;
        CRT_AWAIT(self->r = crt_fs_read_file(cx, dirs[self->i], &self->data, &self->n));
        CHECK_EQ(self->r, -EISDIR);
        CHECK(!self->data && !self->n);
        CRT_AWAIT(self->r = crt_fs_write_file(cx, dirs[self->i], "x", 1));
        CHECK_EQ(self->r, -EISDIR);
    }
    CRT_AWAIT(self->r = crt_fs_read_file(cx, "/nowhere/at/all", &self->data, &self->n));
    CHECK_EQ(self->r, -ENOENT);
    CHECK(!self->data && !self->n);
    CRT_AWAIT(self->r = crt_fs_write_file(cx, "/nowhere/at/all", "x", 1));
    CHECK_EQ(self->r, -ENOENT);
    CRT_AWAIT(self->r = crt_fs_read_file(cx, NULL, &self->data, &self->n));
    CHECK_EQ(self->r, CRT_EINVAL);
#ifndef _WIN32
    CRT_AWAIT(self->r = crt_fs_write_file(cx, "/dev/full", "x", 1));
    CHECK_EQ(self->r, -ENOSPC);
#endif
    // Given up before, while and after it runs: nothing leaks (ASan looks on).
    CRT_AWAIT(self->r = crt_fs_write_file(cx, self->path, self->big, 300000));
    CHECK_EQ(self->r, 0);
    for (self->i = 0; self->i < 40; self->i++) {
        CRT_AWAIT(self->w = crt_select_biased(cx, &self->sel,
            crt_on(cx, 0, self->x = crt_fs_read_file(cx, self->path, &self->data, &self->n)),
            crt_on_if(cx, 1, true, self->y = self->i % 2 ? crt_sleep(cx, CRT_MS(self->i / 10)) : crt_yield_now(cx))));
        if (self->w == 0) {
            CHECK(self->x == 0 && self->n == 300000);
            CRT_FREE(self->data);
        } else {
            CHECK(!self->data);
        }
        self->data = NULL;
    }
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, 0, crt_fs_read_file(cx, self->path, &self->data, &self->n)));
    CHECK(self->r == 0 || self->r == CRT_ETIMEDOUT);
    if (self->r == 0) CRT_FREE(self->data);
    self->data = NULL;
    // The data is copied: the caller's buffer may go while the write goes on.
    memset(self->buf, 'q', sizeof self->buf);
    CRT_AWAIT(self->w = crt_select_biased(cx, &self->sel,
        crt_on(cx, 0, self->x = crt_fs_write_file(cx, self->path, self->buf, sizeof self->buf)),
        crt_on(cx, 1, crt_yield_now(cx))));
    CRT_FINALLY
        free(self->big);
    CRT_END;
}
static void files(crt_runtime *rt) { run(rt, files_run); }
// All descriptors are closed once the runtime is gone, also those of abandoned calls.
static void abandoned_calls_leave_nothing_open(void)
{
    crt_runtime *rt;
    int before = open_descriptors();
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt), 0);
    run(rt, files_run);
    run(rt, names_run);
    crt_runtime_drop(&rt);
    CHECK_EQ(open_descriptors(), before);
}

static crt_poll no_driver_run(void *frame, crt_cx *cx)
{
    io *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_udp_bind(cx, "127.0.0.1:0", &self->a));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    CRT_AWAIT(self->r = crt_unix_listen(cx, "/nowhere/at/all", NULL, &self->l));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    CRT_AWAIT(self->r = crt_unix_connect(cx, "/nowhere/at/all", &self->s));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    CRT_AWAIT(self->r = crt_fs_read_file(cx, SYSTEM_FILE, &self->data, &self->n));   // needs none
    CHECK_EQ(self->r, 0);
    if (self->data) CRT_FREE(self->data);
    CRT_END;
}
static void without_the_driver(crt_runtime *rt) { run(rt, no_driver_run); }

int main(int argc, char **argv)
{
    test_init(argc, argv);
    if (test_directory(dir, sizeof dir)) return 1;
    TEST_ON_EACH(udp);
#ifndef _WIN32
    TEST_ON_EACH(unix_sockets);
#endif
    TEST_ON_EACH(names);
    TEST_ON_EACH(files);
    TEST(abandoned_calls_leave_nothing_open);
    TEST_ON_EACH_WITH(without_the_driver, .drivers = CRT_DRIVER_NONE, .log = {.func = test_log});
    char path[sizeof dir + 8];
    snprintf(path, sizeof path, "%s/file", dir);
    unlink(path);
    rmdir(dir);
    return test_end();
}
