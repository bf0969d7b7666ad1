// What a review found in files, sockets, streams, channels and children, each in the smallest
// scene that shows it. Memory that fails is one allocation in turn, until a call passes; names
// longer than most file systems have are made up where the directory is read.
#include <stdlib.h>
static void *test_malloc(size_t n, void *user);
static void test_free(void *p);
#define CRT_MALLOC(n) test_malloc((n), NULL)
#define CRT_FREE(p) test_free(p)
#ifndef _WIN32
#include <dirent.h>
static struct dirent *long_readdir(DIR *d);
#define readdir(d) long_readdir(d)
#endif
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#undef readdir

#ifndef _WIN32
#include <sys/stat.h>
#endif

static int malloc_left = -1;   // atomic: how many succeed before one fails; -1: all
static void *test_malloc(size_t n, void *user)
{
    int left = __atomic_load_n(&malloc_left, __ATOMIC_SEQ_CST);
    if (left >= 0 && __atomic_fetch_sub(&malloc_left, 1, __ATOMIC_SEQ_CST) == 0) return NULL;
#ifdef _WIN32   // who looks beyond the end of an empty entry finds what makes it one that sets something
    char *p = test_counted_alloc(n + sizeof L"=", user);
    if (p) memcpy(p + n, L"=", sizeof L"=");
    return p;
#else
    return test_counted_alloc(n, user);
#endif
}
static void test_free(void *p)
{
    if (p) test_counted_free(p, NULL);
}
static void fail_after(int n) { __atomic_store_n(&malloc_left, n, __ATOMIC_SEQ_CST); }

static char dir[100];   // the directory of this run
enum { PATH_ROOM = 600 };
static const char *in_dir(char *path, const char *name)
{
    snprintf(path, PATH_ROOM, "%s/%s", dir, name);
    return path;
}
static bool is_there(const char *path) { return access(path, F_OK) == 0; }
// -1: it is not there.
static long size_of(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) return -1;
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    fclose(f);
    return n;
}

static int urgent;   // atomic: log lines of errors and warnings
static void log_urgent(int level, const char *message, void *user)
{
    (void)message, (void)user;
    if (level <= CRT_LOG_WARN) __atomic_fetch_add(&urgent, 1, __ATOMIC_SEQ_CST);
}
// A body on a runtime of its own, which leaves no memory behind. How many more descriptors there are.
static int descriptors_of(crt_fn fn, void *frame)
{
    crt_config c = {.flavor = CRT_CURRENT_THREAD, .allocator = {test_malloc, test_counted_free, NULL},
                    .log = {.func = log_urgent, .level = CRT_LOG_DEBUG}};
    crt_runtime *rt;
    int before = test_fd_count();
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    CHECK_EQ(crt_block_on(rt, fn, frame), 0);
    crt_runtime_drop(&rt);
    test_all_freed();
    return test_fd_count() - before;
}
static void run(crt_fn fn, void *frame) { CHECK_EQ(descriptors_of(fn, frame), 0); }
typedef struct scene {
    crt_frame co;
    crt_stream *a, *b;
    crt_reader in;
    crt_writer out, nothing;
    crt_udp *u;
    crt_listener *l;
    crt_file *f;
    crt_dir *d;
    crt_fs_dirent e;
    crt_addr to;
    crt_timer timer;
    crt_poll r;
    void *frame;
    char *line;
    int i, k, fd[2], flags;
    char path[PATH_ROOM], path2[PATH_ROOM], buf[16];
} scene;
#define SCENE(name)                                                                        \
    static crt_poll name##_run(void *frame, crt_cx *cx);                                   \
    static void name(void)                                                                 \
    {                                                                                      \
        run(name##_run, &(scene){.r = 0});                                                 \
    }                                                                                      \
    static crt_poll name##_run(void *frame, crt_cx *cx)

// ---- without memory nothing has been made, and nothing cut off -------------------------

static crt_poll unix_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    in_dir(self->path, "socket");
    for (self->k = 0;; self->k++) {
        fail_after(self->k);
        if (self->i) CRT_AWAIT(self->r = crt_unix_dgram_bind(cx, self->path, NULL, &self->u));
        else CRT_AWAIT(self->r = crt_unix_listen(cx, self->path, NULL, &self->l));
        fail_after(-1);
        if (self->r != CRT_ENOMEM) break;
        CHECK(!is_there(self->path));
    }
    if (self->r == -EAFNOSUPPORT) CRT_RETURN(0);   // Windows: no datagrams, or none at all
    CHECK_EQ(self->r, 0);
    CHECK(self->k > 0 && is_there(self->path));
    crt_close(&self->l);
    crt_close(&self->u);
    CRT_AWAIT(self->r = crt_fs_remove_file(cx, self->path));
    CHECK_EQ(self->r, 0);
    CRT_END;
}
static void a_unix_socket_that_has_no_memory_leaves_no_file(void)
{
    for (int i = 0; i < 2; i++) run(unix_run, &(scene){.i = i});
}

enum { OPEN_TRUNCATES, OPEN_CREATES, COPY, MAKINGS };
static crt_poll make(scene *self, crt_cx *cx)
{
    bool truncates = self->i == OPEN_TRUNCATES;
    crt_fs_open_desc how = {.write = true, .truncate = truncates, .create_new = !truncates};
    if (self->i == COPY) return crt_fs_copy(cx, self->path2, self->path, NULL);
    return crt_fs_open(cx, self->path, &how, &self->f);
}
SCENE(a_file_is_neither_cut_nor_made_without_memory)
{
    static const long before[] = {8, -1, 8}, after[] = {0, 0, 3};   // its size; -1: there is none
    scene *self = frame;
    CRT_BEGIN(self, cx);
    in_dir(self->path, "data");
    CRT_AWAIT(self->r = crt_fs_write_file(cx, in_dir(self->path2, "other"), "new", 3));
    CHECK_EQ(self->r, 0);
    for (self->i = 0; self->i < MAKINGS; self->i++) {
        if (self->i == OPEN_CREATES) CRT_AWAIT(self->r = crt_fs_remove_file(cx, self->path));
        else CRT_AWAIT(self->r = crt_fs_write_file(cx, self->path, "precious", 8));
        CHECK_EQ(self->r, 0);
        for (self->k = 0;; self->k++) {
            fail_after(self->k);
            CRT_AWAIT(self->r = make(self, cx));
            fail_after(-1);
            if (self->r != CRT_ENOMEM) break;
            CHECK_EQ(size_of(self->path), before[self->i]);
        }
        CHECK_EQ(self->r, 0);
        CHECK(self->k > 1);   // the call itself, and what it came for
        crt_close(&self->f);
        CHECK_EQ(size_of(self->path), after[self->i]);
    }
    CRT_END;
}

// ---- directories ------------------------------------------------------------------------

enum { ENTRIES = 100, NAME_MOST = 255 };
static bool makes_long;   // each name gets a tail, of a length of its own
static size_t long_length(int number) { return 300 + (size_t)number * 37 % 3000; }
#ifndef _WIN32
// The entry is in the system's memory until the next is read: then it is nonsense.
static struct dirent *long_readdir(DIR *d)
{
    static union { char room[4000]; struct dirent e; } made;
    struct dirent *e = readdir(d);
    if (!e || !makes_long || e->d_name[0] == '.') return e;
    size_t head = offsetof(struct dirent, d_name), n = long_length(atoi(e->d_name));
    memset(made.room, '?', sizeof made.room - 1);
    memcpy(made.room, e, head);
    memcpy(made.room + head, e->d_name, NAME_MOST);
    memset(made.room + head + NAME_MOST, 'y', n - NAME_MOST);
    made.room[head + n] = 0;
    return &made.e;
}
#endif
static bool is_whole(const char *name, int number)
{
    size_t x = strspn(name + 3, "x"), n = strlen(name);
    if (!makes_long) return 3 + x == NAME_MOST && n == NAME_MOST;
    return 3 + x == NAME_MOST && x + 3 + strspn(name + 3 + x, "y") == n && n == long_length(number);
}
SCENE(entries_whose_names_fill_more_than_a_batch_are_told_once_each)
{
    static int seen[ENTRIES];
    scene *self = frame;
    CRT_BEGIN(self, cx);
    in_dir(self->path, "many");
    CRT_AWAIT(self->r = crt_fs_create_dir(cx, self->path, 0700));
    CHECK_EQ(self->r, 0);
    for (self->i = 0; self->i < ENTRIES; self->i++) {
        in_dir(self->path2, "many/");
        char *name = self->path2 + strlen(self->path2);
        memset(name, 'x', NAME_MOST);
        name[NAME_MOST] = 0;
        name[0] = (char)('0' + self->i / 100);
        name[1] = (char)('0' + self->i / 10 % 10);
        name[2] = (char)('0' + self->i % 10);
        CRT_AWAIT(self->r = crt_fs_write_file(cx, self->path2, "", 0));
        CHECK_EQ(self->r, 0);
    }
#ifdef _WIN32
    enum { ROUNDS = 1 };
#else
    enum { ROUNDS = 2 };
#endif
    for (self->k = 0; self->k < ROUNDS; self->k++) {
        makes_long = self->k == 1;
        memset(seen, 0, sizeof seen);
        CRT_AWAIT(self->r = crt_fs_read_dir(cx, self->path, &self->d));
        CHECK_EQ(self->r, 0);
        for (;;) {
            CRT_AWAIT(self->r = crt_dir_next(cx, self->d, &self->e));
            if (self->r <= 0) break;
            self->i = atoi(self->e.name);
            CHECK(self->i >= 0 && self->i < ENTRIES && is_whole(self->e.name, self->i));
            if (self->i >= 0 && self->i < ENTRIES) seen[self->i]++;
        }
        makes_long = false;
        CHECK_EQ(self->r, 0);
        for (int i = 0; i < ENTRIES; i++) CHECK_EQ(seen[i], 1);
        crt_close(&self->d);
    }
    CRT_AWAIT(self->r = crt_fs_remove_dir_all(cx, self->path));
    CHECK_EQ(self->r, 0);
    CRT_END;
}

#ifndef _WIN32
SCENE(remove_dir_all_of_a_link_with_a_slash_leaves_its_target)
{
    static const char *const slashes[] = {"", "/", "//"};
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CHECK(!mkdir(in_dir(self->path, "precious"), 0700) && !mkdir(in_dir(self->path, "precious/sub"), 0700));
    CRT_AWAIT(self->r = crt_fs_write_file(cx, in_dir(self->path, "precious/file"), "x", 1));
    CHECK_EQ(self->r, 0);
    for (self->i = 0; self->i < 3; self->i++) {
        CHECK(!symlink("precious", in_dir(self->path2, "link")));
        strcat(self->path2, slashes[self->i]);
        CRT_AWAIT(self->r = crt_fs_remove_dir_all(cx, self->path2));
        CHECK_EQ(self->r, 0);
        struct stat st;
        CHECK(lstat(in_dir(self->path2, "link"), &st) && errno == ENOENT);
        CHECK(is_there(self->path) && is_there(in_dir(self->path2, "precious/sub")));
        unlink(in_dir(self->path2, "link"));
    }
    CRT_AWAIT(self->r = crt_fs_remove_dir_all(cx, in_dir(self->path2, "precious/")));   // what is none goes
    CHECK(self->r == 0 && !is_there(in_dir(self->path2, "precious")));
    CRT_END;
}

// A device takes a seek that moves nothing: what a cancelled read of it got would be thrown away.
SCENE(a_device_is_not_taken_for_seekable)
{
    static const char *const devices[] = {"/dev/null", "/dev/zero"};
    scene *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 2; self->i++) {
        CRT_AWAIT(self->r = crt_fs_open(cx, devices[self->i], NULL, &self->f));
        CHECK(self->r == 0 && self->f && !self->f->seekable);
        crt_close(&self->f);
    }
    CRT_AWAIT(self->r = crt_fs_write_file(cx, in_dir(self->path, "plain"), "x", 1));
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path, NULL, &self->f));
    CHECK(self->r == 0 && self->f && self->f->seekable);
    crt_close(&self->f);
    CRT_END;
}

// ---- descriptors ------------------------------------------------------------------------

static crt_poll closes_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    close(self->fd[1]);
    CRT_END;
}
SCENE(the_end_of_a_pipe_is_readable_and_a_hangup)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 2; self->i++) {   // before the wait, or while it waits
        CHECK(!test_pipe(self->fd));
        if (self->i) CHECK_EQ(crt_spawn(cx, closes_run, &(scene){.fd = {-1, self->fd[1]}}), 0);
        else close(self->fd[1]);
        CRT_AWAIT(self->r = crt_fd_ready(cx, self->fd[0], CRT_FD_READ));
        CHECK_EQ(self->r, CRT_FD_READ | CRT_FD_HANGUP);
        close(self->fd[0]);
    }
    CRT_END;
}

SCENE(a_descriptor_becomes_close_on_exec_when_it_is_taken_and_not_before)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    self->fd[0] = open("/dev/null", O_RDWR);
    CHECK_EQ(fcntl(self->fd[0], F_GETFD), 0);
    self->flags = fcntl(self->fd[0], F_GETFL);
    self->r = crt_stream_from_fd(cx, self->fd[0], CRT_FD_OWN, &self->a);
    if (self->r) {   // epoll takes none; a kqueue may
        CHECK(fcntl(self->fd[0], F_GETFD) == 0 && fcntl(self->fd[0], F_GETFL) == self->flags);
        close(self->fd[0]);
    }
#ifdef __linux__
    CHECK_EQ(self->r, -EPERM);
#endif
    crt_close(&self->a);
    CHECK(!pipe(self->fd));
    CHECK_EQ(fcntl(self->fd[0], F_GETFD), 0);
    CHECK_EQ(crt_stream_from_fd(cx, self->fd[0], CRT_FD_OWN, &self->a), 0);
    CHECK(fcntl(self->fd[0], F_GETFD) & FD_CLOEXEC);
    close(self->fd[1]);
    crt_close(&self->a);
    CRT_END;
}
#endif

// ---- streams ------------------------------------------------------------------------------

SCENE(a_buffered_read_into_null_is_refused)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 64, &self->a, &self->b), 0);
    crt_reader_init(&self->in, self->b, NULL, 0);
    CHECK_EQ(crt_try_write(self->a, "hello", 5), 5);
    CRT_AWAIT(self->r = crt_reader_fill(cx, &self->in, 5));
    for (self->i = 0; self->i < 2; self->i++) {   // with bytes in the buffer, and without
        CRT_AWAIT(self->r = crt_reader_read(cx, &self->in, NULL, 3));
        CHECK_EQ(self->r, CRT_EINVAL);
        CRT_AWAIT(self->r = crt_reader_read_exact(cx, &self->in, NULL, 3));
        CHECK_EQ(self->r, CRT_EINVAL);
        if (!self->i) CRT_AWAIT(self->r = crt_reader_read_exact(cx, &self->in, self->buf, 5));
        CHECK(!memcmp(self->buf, "hello", 5));   // nothing had been taken
    }
    crt_reader_drop(&self->in);
    crt_close(&self->a);
    crt_close(&self->b);
    CRT_END;
}

static bool heard;
static crt_poll other_run(void *frame, crt_cx *cx)
{
    (void)frame, (void)cx;
    heard = true;
    return 0;
}
// The reader has 9 bytes, of which the first four are a length that its 16 have no room for.
enum { AT_ONCE = 12 };
static const crt_poll ends_with[AT_ONCE] = {9, 9, CRT_EMSGSIZE, CRT_EMSGSIZE, CRT_EINVAL, 0, 0, CRT_EINVAL};
static crt_poll at_once(scene *self, crt_cx *cx)
{
    switch (self->i) {
    case 0: return crt_reader_fill(cx, &self->in, 4);
    case 1: return crt_reader_fill(cx, &self->in, 0);
    case 2: return crt_reader_fill(cx, &self->in, 1000);
    case 3: return crt_framed_read(cx, &self->in, NULL, &self->frame);
    case 4: return crt_writer_write_all(cx, &self->out, NULL, 5);
    case 5: return crt_writer_write_all(cx, &self->out, "", 0);
    case 6: return crt_writer_flush(cx, &self->out);
    case 7: return crt_writer_flush(cx, &self->nothing);
    case 8: return crt_udp_connect(cx, self->u, &self->to);
    case 9: return crt_shutdown_read(cx, self->a);
    case 10: return crt_shutdown(cx, self->a);
    default: return crt_writer_shutdown(cx, &self->out);
    }
}
SCENE(what_ends_at_once_lets_others_run)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    CRT_AWAIT(self->r = crt_write_all(cx, self->b, "\0\0\0\xffhello", 9));
    CRT_AWAIT(self->r = crt_udp_bind(cx, "127.0.0.1:0", &self->u));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_addr_parse("127.0.0.1:9", &self->to), 0);
    crt_reader_init(&self->in, self->a, self->buf, sizeof self->buf);
    crt_writer_init(&self->out, self->a, NULL, 0);
    crt_writer_init(&self->nothing, NULL, NULL, 0);
    CRT_AWAIT(self->r = crt_reader_fill(cx, &self->in, 9));
    CHECK_EQ(self->r, 9);
    for (self->i = 0; self->i < AT_ONCE; self->i++) {
        heard = false;
        CHECK_EQ(crt_spawn(cx, other_run, &(int){0}), 0);
        for (self->k = 0; self->k < 1000 && !heard; self->k++) {
            CRT_AWAIT(self->r = at_once(self, cx));
            CHECK_EQ(self->r, ends_with[self->i]);
        }
        CHECK_EQ(heard ? -1 : self->i, -1);   // else the number of the one that lets nobody run
        CRT_YIELD();
    }
    crt_reader_drop(&self->in);
    crt_writer_drop(&self->out);
    crt_close(&self->a);
    crt_close(&self->b);
    crt_close(&self->u);
    CRT_END;
}

// A buffer is wanted, and there is no memory for it.
#ifdef _WIN32
enum { WITHOUT_MEMORY = 7 };
#else
enum { WITHOUT_MEMORY = 8 };
#endif
static crt_poll without_memory(scene *self, crt_cx *cx)
{
    fail_after(0);
    switch (self->i) {
    case 0: return crt_reader_read(cx, &self->in, self->buf, 4);
    case 1: return crt_reader_fill(cx, &self->in, 4);
    case 2: return crt_reader_read_exact(cx, &self->in, self->buf, 4);
    case 3: return crt_reader_read_line(cx, &self->in, 0, &self->line);
    case 4: return crt_reader_read_until(cx, &self->in, 'o', 0, &self->frame);
    case 5: return crt_reader_skip_until(cx, &self->in, 'o');
    case 6: return crt_framed_read(cx, &self->in, NULL, &self->frame);
#ifndef _WIN32
    default: return crt_signal_recv(cx, SIGUSR1);
#endif
    }
    return CRT_PENDING;
}
static crt_poll no_memory_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 64, &self->a, &self->b), 0);
    CHECK_EQ(crt_try_write(self->b, "hello", 5), 5);
    crt_reader_init(&self->in, self->a, NULL, 0);
    for (self->i = 0; self->i < WITHOUT_MEMORY; self->i++) {
        heard = false;
        CHECK_EQ(crt_spawn(cx, other_run, &(int){0}), 0);
        for (self->k = 0; self->k < 1000 && !heard; self->k++) {
            CRT_AWAIT(self->r = without_memory(self, cx));
            fail_after(-1);
            CHECK_EQ(self->r, CRT_ENOMEM);
        }
        CHECK_EQ(heard ? -1 : self->i, -1);
        CRT_YIELD();
    }
    CRT_AWAIT(self->r = crt_reader_read_exact(cx, &self->in, self->buf, 5));   // nothing was lost
    CHECK(self->r == 5 && !memcmp(self->buf, "hello", 5));
    crt_reader_drop(&self->in);
    crt_close(&self->a);
    crt_close(&self->b);
    CRT_END;
}
static void what_has_no_memory_lets_others_run(void)
{
    (void)descriptors_of(no_memory_run, &(scene){.r = 0});   // the first wait for a signal makes a pipe that stays
    run(no_memory_run, &(scene){.r = 0});
}

// ---- datagrams ------------------------------------------------------------------------------

SCENE(of_no_datagrams_none_are_moved)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_udp_bind(cx, "127.0.0.1:0", &self->u));
    CHECK_EQ(self->r, 0);
    crt_udp_msg msg = {.len = 0};
    CHECK_EQ(crt_udp_try_recv_many(self->u, NULL, 0), 0);
    CHECK_EQ(crt_udp_try_recv_many(self->u, &msg, 0), 0);
    CHECK_EQ(crt_udp_try_send_many(self->u, NULL, 0), 0);
    CHECK_EQ(crt_udp_try_send_many(self->u, &msg, 0), 0);
    CHECK_EQ(crt_udp_try_recv_many(self->u, NULL, 1), CRT_EINVAL);
    crt_close(&self->u);
    CRT_END;
}

SCENE(multicast_options_read_as_they_were_set)
{
    static const char *const any[] = {"127.0.0.1:0", "[::1]:0"};
    static const int ttl[] = {0, 1, 255};
    scene *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 2; self->i++) {
        CRT_AWAIT(self->r = crt_udp_bind(cx, any[self->i], &self->u));
        if (self->i && self->r) continue;   // no IPv6 here
        CHECK_EQ(self->r, 0);
        for (int k = 0; k < 3; k++) {
            CHECK_EQ(crt_udp_set_multicast_ttl(self->u, ttl[k]), 0);
            CHECK_EQ(crt_udp_get_multicast_ttl(self->u), ttl[k]);
            CHECK_EQ(crt_udp_set_multicast_loop(self->u, k == 1), 0);
            CHECK_EQ(crt_udp_get_multicast_loop(self->u), k == 1);
        }
        CHECK_EQ(crt_udp_set_multicast_ttl(self->u, 256), CRT_EINVAL);
        crt_close(&self->u);
    }
    CRT_END;
}

// ---- channels ---------------------------------------------------------------------------------

static int dropped, cloned;
static void elem_drop(void *elem, void *user)
{
    (void)user;
    dropped += *(int *)elem;
}
static void elem_clone(void *copy, void *user)
{
    (void)copy, (void)user;
    cloned++;
}
static bool always(const void *elem, void *user) { return (void)elem, (void)user, true; }
typedef struct channels {
    crt_frame co;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_oneshot_tx *once;
    crt_oneshot_rx *once_rx;
    crt_broadcast_tx *all;
    crt_broadcast_rx *all_rx;
    crt_watch_tx *watch;
    crt_watch_rx *watch_rx;
    crt_poll r;
    int i, value;
} channels;
static crt_poll unwanted_run(void *frame, crt_cx *cx)
{
    static const int weight[] = {1, 10, 100, 1000, 10000};
    static const crt_elem_ops ops = {elem_clone, elem_drop, NULL};
    channels *self = frame;
    CRT_BEGIN(self, cx);
    dropped = cloned = 0;
    CHECK_EQ(crt_mpsc_new(sizeof(int), 8, &self->tx, &self->rx), 0);
    crt_mpsc_on_drop(self->rx, elem_drop, NULL);
    for (int i = 0; i < 5; i++) CHECK_EQ(crt_mpsc_try_send(self->tx, &weight[i]), 0);
    CRT_AWAIT(self->r = crt_mpsc_recv(cx, self->rx, NULL));
    CHECK(self->r == 0 && dropped == 1);
    CHECK_EQ(crt_mpsc_try_recv(self->rx, NULL), 0);
    CHECK_EQ(dropped, 11);
    CRT_AWAIT(self->r = crt_mpsc_recv_many(cx, self->rx, NULL, 2));
    CHECK(self->r == 2 && dropped == 1111);
    CRT_AWAIT(self->r = crt_mpsc_recv(cx, self->rx, &self->value));   // whoever wants it has it
    CHECK(self->r == 0 && self->value == 10000);
    crt_mpsc_tx_drop(&self->tx);
    crt_mpsc_rx_drop(&self->rx);
    CHECK_EQ(dropped, 1111);

    for (self->i = 0; self->i < 2; self->i++) {
        dropped = 0;
        CHECK_EQ(crt_oneshot_new(sizeof(int), &self->once, &self->once_rx), 0);
        crt_oneshot_on_drop(self->once_rx, elem_drop, NULL);
        CHECK_EQ(crt_oneshot_send(&self->once, &weight[0]), 0);
        if (self->i) self->r = crt_oneshot_try_recv(&self->once_rx, NULL);
        else CRT_AWAIT(self->r = crt_oneshot_recv(cx, &self->once_rx, NULL));
        CHECK(self->r == 0 && !self->once_rx && dropped == 1);
    }

    dropped = 0;
    CHECK_EQ(crt_broadcast_new(sizeof(int), 4, &self->all), 0);
    crt_broadcast_set_ops(self->all, &ops);
    CHECK_EQ(crt_broadcast_subscribe(self->all, &self->all_rx), 0);
    for (int i = 0; i < 3; i++) CHECK_EQ(crt_broadcast_send(self->all, &weight[i]), 1);
    CRT_AWAIT(self->r = crt_broadcast_recv(cx, self->all_rx, NULL, NULL));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_broadcast_try_recv(self->all_rx, NULL, NULL), 0);
    CHECK_EQ(cloned, 0);
    CHECK_EQ(crt_broadcast_try_recv(self->all_rx, &self->value, NULL), 0);
    CHECK(cloned == 1 && self->value == 100);
    crt_broadcast_rx_drop(&self->all_rx);
    crt_broadcast_tx_drop(&self->all);
    CHECK_EQ(dropped, 111);

    dropped = cloned = 0;
    CHECK_EQ(crt_watch_new(sizeof(int), &weight[0], &self->watch, &self->watch_rx), 0);
    crt_watch_set_ops(self->watch, &ops);
    CRT_AWAIT(self->r = crt_watch_wait_for(cx, self->watch_rx, always, NULL, NULL));
    CHECK_EQ(self->r, 0);
    crt_watch_get(self->watch_rx, NULL);
    crt_watch_get_update(self->watch_rx, NULL);
    crt_watch_tx_get(self->watch, NULL);
    CHECK(cloned == 0 && dropped == 0);
    crt_watch_get(self->watch_rx, &self->value);
    CHECK(cloned == 1 && self->value == 1);
    crt_watch_rx_drop(&self->watch_rx);
    crt_watch_tx_drop(&self->watch);
    CHECK_EQ(dropped, 1);
    CRT_END;
}
static void what_is_received_into_null_is_dropped_and_a_copy_not_made(void)
{
    run(unwanted_run, &(channels){.value = 0});
}

// ---- children ---------------------------------------------------------------------------------

typedef struct child {
    crt_frame co;
    crt_output o;
    crt_poll r;
} child;
static crt_poll child_run(void *frame, crt_cx *cx)
{
    static const char *const env[] = {"CRT_A=1", "", "CRT_B=2", NULL};
#ifdef _WIN32
    static char me[MAX_PATH];
    static const char *const argv[] = {me, "environment", NULL};
    if (!*me) GetModuleFileNameA(NULL, me, sizeof me);
#else
    static const char *const argv[] = {"env", NULL};
#endif
    static const crt_process_desc desc = {.argv = argv, .env = env, .env_clear = true};
    child *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_process_output(cx, &desc, &self->o));
    CHECK(self->r == 0 && crt_exit_ok(&self->o.status) && self->o.out);
    CHECK(self->o.out && strstr(self->o.out, "CRT_A=1") && strstr(self->o.out, "CRT_B=2"));
    crt_output_free(&self->o);
    CRT_END;
}
static void an_empty_entry_does_not_end_the_environment(void)
{
    (void)descriptors_of(child_run, &(child){.r = 0});   // without pidfds the first child makes some that stay
    run(child_run, &(child){.r = 0});
}
static int say_environment(void)
{
#ifdef _WIN32
    char *all = GetEnvironmentStringsA();
    for (char *e = all; *e; e += strlen(e) + 1) printf("%s\n", e);
    fflush(stdout);
#endif
    return 0;
}

// ---- a select that is over --------------------------------------------------------------------

typedef struct over {
    crt_frame co;
    CRT_SELECT(2) sel;
    crt_poll r;
    int i;
} over;
static crt_poll over_run(void *frame, crt_cx *cx)
{
    over *self = frame;
    CRT_BEGIN(self, cx);
    __atomic_store_n(&urgent, 0, __ATOMIC_SEQ_CST);
    for (;;) {   // select! { ..., else => break }
        CRT_AWAIT(self->r = crt_select(cx, &self->sel,
            crt_on_if(cx, 0, self->i < 3, (crt_poll)0),
            crt_on_if(cx, 1, false, (crt_poll)0)));
        if (self->r) break;
        self->i++;
    }
    CHECK(self->r == CRT_EINVAL && self->i == 3);
    CHECK_EQ(__atomic_load_n(&urgent, __ATOMIC_SEQ_CST), 0);
    CRT_END;
}
static void a_select_whose_arms_are_all_disabled_is_no_cause_for_alarm(void)
{
    run(over_run, &(over){.r = 0});
}

// ---- several find the same socket file stale, at once: one of them gets the path ----------------

#ifndef _WIN32
enum { STARTERS = 4 };
static crt_listener *started[STARTERS];
typedef struct starter {
    crt_frame co;
    crt_poll r;
    crt_listener **l;
    const char *path;
} starter;
static crt_poll starts_run(void *frame, crt_cx *cx)
{
    static const crt_listen_desc how = {.unlink_stale = true};
    starter *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_unix_listen(cx, self->path, &how, self->l));
    CHECK(self->r == 0 || self->r == -EADDRINUSE);
    CRT_END;
}
typedef struct start {
    crt_frame co;
    crt_poll r;
    crt_listener *l;
    crt_join_handle *join[STARTERS];
    int i, k, winners;
    char path[PATH_ROOM];
} start;
static crt_poll stale_run(void *frame, crt_cx *cx)
{
    start *self = frame;
    CRT_BEGIN(self, cx);
    in_dir(self->path, "stale");
    for (self->i = 0; self->i < 100; self->i++) {
        CRT_AWAIT(self->r = crt_unix_listen(cx, self->path, NULL, &self->l));
        CHECK_EQ(self->r, 0);
        crt_close(&self->l);   // and its file stays
        for (int k = 0; k < STARTERS; k++)
            CHECK_EQ(crt_spawn_join(cx, &self->join[k], starts_run, &(starter){.l = &started[k], .path = self->path}), 0);
        for (self->k = self->winners = 0; self->k < STARTERS; self->k++) {
            CRT_AWAIT(self->r = crt_join(cx, &self->join[self->k], NULL));
            self->winners += started[self->k] != NULL;
        }
        CHECK_EQ(self->winners, 1);
        for (int k = 0; k < STARTERS; k++) crt_close(&started[k]);
        CHECK_EQ(unlink(self->path), 0);
    }
    CRT_END;
}
static void one_of_those_who_find_a_socket_file_stale_gets_its_path(void)
{
    crt_runtime *rt;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_MULTI_THREAD, .worker_threads = 4}, &rt), 0);
    CHECK_EQ(crt_block_on(rt, stale_run, &(start){.r = 0}), 0);
    crt_runtime_drop(&rt);
}
// A bind that fails after its socket had the path removes its own file only. The runtime of one thread has no memory for
// a record; the other's socket is there, or its bind fails since the first one's still is.
static int no_memory, unlucky_goes_on;   // atomic
static void *unlucky_alloc(size_t n, void *user)
{
    (void)user;
    return __atomic_load_n(&no_memory, __ATOMIC_SEQ_CST) && n > 4000 ? NULL : malloc(n);
}
static void unlucky_free(void *p, void *user) { (void)user, free(p); }
typedef struct bound {
    crt_frame co;
    crt_udp *u;
    crt_poll r;
    const char *path;
} bound;
static crt_poll bind_run(void *frame, crt_cx *cx)
{
    static const crt_udp_desc how = {.unlink_stale = true};
    bound *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_unix_dgram_bind(cx, self->path, &how, &self->u));
    CRT_END;
}
static void *unlucky_thread(void *path)
{
    crt_runtime *rt;
    crt_config c = {.flavor = CRT_CURRENT_THREAD, .allocator = {unlucky_alloc, unlucky_free, NULL}, .log.func = test_log};
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    __atomic_store_n(&no_memory, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&unlucky_goes_on, __ATOMIC_SEQ_CST)) {
        bound b = {.path = path};
        CHECK_EQ(crt_block_on(rt, bind_run, &b), 0);
        CHECK(b.r == CRT_ENOMEM || b.r == -EADDRINUSE);
    }
    __atomic_store_n(&no_memory, 0, __ATOMIC_SEQ_CST);
    crt_runtime_drop(&rt);
    return NULL;
}
static void a_bind_that_fails_removes_no_other_socket(void)
{
    char path[PATH_ROOM];
    crt_runtime *rt;
    pthread_t thread;
    int had = 0;
    in_dir(path, "unlucky");
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt), 0);
    __atomic_store_n(&unlucky_goes_on, 1, __ATOMIC_SEQ_CST);
    CHECK_EQ(pthread_create(&thread, NULL, unlucky_thread, path), 0);
    for (int i = 0; i < 3000 || !had; i++) {
        bound b = {.path = path};
        CHECK_EQ(crt_block_on(rt, bind_run, &b), 0);
        CHECK(b.r == 0 || b.r == -EADDRINUSE);
        if (b.r) continue;
        sched_yield();
        CHECK(is_there(path));
        had++;
        unlink(path);
        crt_udp_close(&b.u);
    }
    __atomic_store_n(&unlucky_goes_on, 0, __ATOMIC_SEQ_CST);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    unlink(path);
    crt_runtime_drop(&rt);
}
// A wait that tries first needs no turn of the reactor where there is room: a time that has passed does not matter.
SCENE(a_new_pipe_has_room)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_pipe(cx, &self->a, &self->b), 0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, -1, crt_write(cx, self->b, "x", 1)));
    CHECK_EQ(self->r, 1);
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, sizeof self->buf));
    CHECK(self->r == 1 && self->buf[0] == 'x');
    crt_close(&self->a);
    crt_close(&self->b);
    CRT_END;
}
#endif

// ---- what a call is given counts at its first poll, whatever is left of the budget -------------------------

static void spent(crt_cx *cx)
{
    while (crt_coop_budget(cx))
        if (crt_consume_budget(cx)) break;
}
SCENE(a_count_is_that_of_the_first_poll_also_without_a_budget)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 1024, &self->a, &self->b), 0);
    crt_reader_init(&self->in, self->a, NULL, 0);
    crt_writer_init(&self->out, self->a, NULL, 0);
    CRT_AWAIT(self->r = crt_write_all(cx, self->b, "hello, world", 12));
    CHECK_EQ(self->r, 12);
    CRT_AWAIT(self->r = crt_reader_fill(cx, &self->in, 4));
    CHECK_EQ(self->r, 12);
    self->r = 8;
    spent(cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(5), crt_reader_fill(cx, &self->in, (size_t)self->r)));
    CHECK_EQ(self->r, 12);
    self->r = 0;
    spent(cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(5),
                                    crt_reader_read_exact(cx, &self->in, self->buf, (size_t)self->r)));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_reader_buffered(&self->in), 12);
    self->r = 4;
    spent(cx);
    CRT_AWAIT(self->r = crt_reader_read_exact(cx, &self->in, self->buf, (size_t)self->r));
    CHECK(self->r == 4 && !memcmp(self->buf, "hell", 4));
    self->r = 5;
    spent(cx);
    fail_after(0);   // nor memory, at the first poll
    CRT_AWAIT(self->r = crt_writer_write_all(cx, &self->out, "hello", (size_t)self->r));
    CHECK_EQ(self->r, 5);
    CHECK(!cx->slot->op);
    self->r = 0;
    spent(cx);
    CRT_AWAIT(self->r = crt_writer_write_all(cx, &self->out, self->buf, (size_t)self->r));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_writer_buffered(&self->out), 5);
    crt_reader_drop(&self->in);
    crt_writer_drop(&self->out);
    crt_close(&self->a);
    crt_close(&self->b);
    CRT_END;
}
// A path is changed by a sibling, between the first poll and the second.
static crt_poll another_path(scene *self)
{
    in_dir(self->path, "changed");
    return 0;
}
typedef CRT_SELECT(2) two_arms;
static two_arms arms;
static crt_poll wrote;
SCENE(a_path_is_that_of_the_first_poll_also_without_a_budget)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    in_dir(self->path, "first");
    in_dir(self->path2, "first");
    self->r = 5;
    spent(cx);
    CRT_AWAIT(self->k = (int)crt_join_all(cx, &arms,
        crt_on(cx, 0, wrote = crt_fs_write_file(cx, self->path, "hello", 5)), crt_on(cx, 1, another_path(self))));
    CHECK_EQ(wrote, 0);
    CHECK_EQ(size_of(self->path2), 5);
    CHECK(!is_there(self->path));
    CHECK_EQ(remove(self->path2), 0);
    spent(cx);
    CRT_AWAIT(self->r = crt_fs_write_file(cx, self->path2, "hello", (size_t)self->r));   // 5 bytes
    CHECK_EQ(self->r, 0);
    CHECK_EQ(size_of(self->path2), 5);
    CHECK_EQ(remove(self->path2), 0);
    CRT_END;
}
#ifndef _WIN32
static crt_process *speaker;
static crt_poll other_words(const char **words)
{
    words[2] = "exit 7";
    return 0;
}
SCENE(arguments_are_those_of_the_first_poll_also_without_a_budget)
{
    static const char *argv[4] = {"/bin/sh", "-c", "exit 3", NULL};
    static crt_exit_status status;
    scene *self = frame;
    CRT_BEGIN(self, cx);
    spent(cx);
    CRT_AWAIT(self->k = (int)crt_join_all(cx, &arms,
        crt_on(cx, 0, wrote = crt_process_spawn(cx, &(crt_process_desc){.argv = argv}, &speaker)),
        crt_on(cx, 1, other_words(argv))));
    CHECK_EQ(wrote, 0);
    CRT_AWAIT(self->r = crt_process_wait(cx, speaker, &status));
    CHECK(self->r == 0 && status.code == 3);
    crt_close(&speaker);
    CRT_END;
}
#endif
SCENE(an_address_is_that_of_the_first_poll_also_without_a_budget)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_local_addr(self->l, &self->to), 0);
    crt_addr_format(&self->to, self->path, sizeof self->path);
    spent(cx);
    CRT_AWAIT(self->k = (int)crt_join_all(cx, &arms,
        crt_on(cx, 0, wrote = crt_tcp_connect(cx, self->path, &self->a)), crt_on(cx, 1, another_path(self))));
    CHECK_EQ(wrote, 0);
    crt_close(&self->a);
    crt_close(&self->l);
    CRT_END;
}

static crt_poll clean_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_fs_remove_dir_all(cx, dir));
    CRT_RETURN(self->r);
    CRT_END;
}

int main(int argc, char **argv)
{
    (void)test__on_each;
    if (argc == 2 && !strcmp(argv[1], "environment")) return say_environment();
    test_init(argc, argv);
    CHECK(!test_directory(dir, sizeof dir));
    TEST(a_unix_socket_that_has_no_memory_leaves_no_file);
    TEST(a_file_is_neither_cut_nor_made_without_memory);
    TEST(entries_whose_names_fill_more_than_a_batch_are_told_once_each);
#ifndef _WIN32
    TEST(remove_dir_all_of_a_link_with_a_slash_leaves_its_target);
    TEST(a_device_is_not_taken_for_seekable);
    TEST(one_of_those_who_find_a_socket_file_stale_gets_its_path);
    TEST(a_bind_that_fails_removes_no_other_socket);
    TEST(a_new_pipe_has_room);
    TEST(the_end_of_a_pipe_is_readable_and_a_hangup);
    TEST(a_descriptor_becomes_close_on_exec_when_it_is_taken_and_not_before);
#endif
    TEST(a_count_is_that_of_the_first_poll_also_without_a_budget);
    TEST(a_path_is_that_of_the_first_poll_also_without_a_budget);
#ifndef _WIN32
    TEST(arguments_are_those_of_the_first_poll_also_without_a_budget);
#endif
    TEST(an_address_is_that_of_the_first_poll_also_without_a_budget);
    TEST(what_ends_at_once_lets_others_run);
    TEST(what_has_no_memory_lets_others_run);
    TEST(of_no_datagrams_none_are_moved);
    TEST(multicast_options_read_as_they_were_set);
    TEST(what_is_received_into_null_is_dropped_and_a_copy_not_made);
    TEST(a_buffered_read_into_null_is_refused);
    TEST(an_empty_entry_does_not_end_the_environment);
    TEST(a_select_whose_arms_are_all_disabled_is_no_cause_for_alarm);
    run(clean_run, &(scene){.r = 0});
    return test_end();
}
