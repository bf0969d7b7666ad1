// Behaviour of files, sockets, streams and children that mutation testing found unguarded: each
// test here is green on crt.h and red on one small change of it, which its comment names.
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
static void *test_malloc(size_t n, void *user);
static void test_free(void *p);
#define CRT_MALLOC(n) test_malloc((n), NULL)
#define CRT_FREE(p) test_free(p)
#ifndef _WIN32
#include <fcntl.h>
#include <unistd.h>
static bool others_remove;   // each name goes just before it is to be removed
static int test_unlinkat(int at, const char *name, int flags)
{
    if (others_remove) (void)unlinkat(at, name, flags);
    return unlinkat(at, name, flags);
}
#define unlinkat test_unlinkat
#endif
#ifdef __linux__
#include <grp.h>
#include <sys/types.h>
#include <sys/wait.h>
static bool dumps;   // each child that is waited for is said to have left a core
static int test_waitid(idtype_t kind, id_t id, siginfo_t *info, int flags)
{
    int e = waitid(kind, id, info, flags);
    if (!e && dumps && info->si_code == CLD_KILLED) info->si_code = CLD_DUMPED;
    return e;
}
#define waitid test_waitid
// "two" has two addresses.
#include <netdb.h>
static struct addrinfo answer[2];
static int test_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **list)
{
    (void)port, (void)hints;
    *list = answer;
    return strcmp(host, "two") ? EAI_NONAME : 0;
}
static void test_freeaddrinfo(struct addrinfo *list) { (void)list; }
#define getaddrinfo test_getaddrinfo
#define freeaddrinfo test_freeaddrinfo
#endif
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#include <sys/ioctl.h>
#include <sys/stat.h>
#undef waitid

static int malloc_left = -1;   // atomic: how many succeed before one fails; -1: all
static void *test_malloc(size_t n, void *user)
{
    int left = __atomic_load_n(&malloc_left, __ATOMIC_SEQ_CST);
    if (left >= 0 && __atomic_fetch_sub(&malloc_left, 1, __ATOMIC_SEQ_CST) == 0) return NULL;
    return test_counted_alloc(n, user);
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
static bool paused;   // the clock of the next runtime
static int descriptors_of(crt_fn fn, void *frame)
{
    crt_config c = {.start_paused = paused, .flavor = CRT_CURRENT_THREAD, .allocator = {test_malloc, test_counted_free, NULL},
                    .log = {.func = test_log, .level = CRT_LOG_WARN}};
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
    crt_stream *a, *b, *c, *d;
    crt_reader in;
    crt_writer out;
    crt_udp *u, *v;
    crt_listener *l, *l2;
    crt_file *f, *g;
    crt_process *p;
    crt_output o;
    crt_exit_status st;
    crt_fs_stat stat;
    crt_bytes bytes;
    crt_addr to;
    crt_join_handle *join;
    crt_udp_msg msg[3];
    crt_instant since;
    crt_timer timer;
    crt_poll r;
    size_t n;
    void *data;
    char *text;
    int i, k, fd[3];
    char path[PATH_ROOM], path2[PATH_ROOM];
    unsigned char buf[256];
} scene;
#define SCENE(name)                                                                        \
    static crt_poll name##_run(void *frame, crt_cx *cx);                                   \
    static void name(void)                                                                 \
    {                                                                                      \
        run(name##_run, &(scene){.r = 0});                                                 \
    }                                                                                      \
    static crt_poll name##_run(void *frame, crt_cx *cx)

// ---- streams ----------------------------------------------------------------------------

// crt_writer_init: w->data = buf removed. It would write through one of its own, and lose that.
SCENE(a_writer_uses_the_buffer_that_it_was_given)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 64, &self->a, &self->b), 0);
    crt_writer_init(&self->out, self->a, self->buf, 16);
    fail_after(0);
    CRT_AWAIT(self->r = crt_writer_write_all(cx, &self->out, "abc", 3));
    fail_after(-1);
    CHECK(self->r == 3 && !memcmp(self->buf, "abc", 3));
    crt_writer_drop(&self->out);
    crt_close(&self->a);
    crt_close(&self->b);
    CRT_END;
}

// crt__writer_put: left >= w->capacity made >. What fills the buffer passes by it.
SCENE(a_piece_as_large_as_the_buffer_of_a_writer_passes_by_it)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 64, &self->a, &self->b), 0);
    crt_writer_init(&self->out, self->a, self->buf, 16);
    CRT_AWAIT(self->r = crt_writer_write_all(cx, &self->out, "0123456789abcdef", 16));
    CHECK(self->r == 16 && crt_writer_buffered(&self->out) == 0);
    CHECK_EQ(crt_try_read(self->b, self->buf + 32, 32), 16);
    crt_close(&self->a);
    crt_close(&self->b);
    CRT_END;
}

// crt__framing_of: x->offset > 64 made >=. 64 bytes before a field of 8 are what is promised; one more is not.
SCENE(a_length_field_may_come_64_bytes_into_its_frame)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 200, &self->a, &self->b), 0);
    crt_writer_init(&self->out, self->a, NULL, 0);
    crt_reader_init(&self->in, self->b, NULL, 0);
    static const crt_framed most = {.length_field_offset = 64, .length_field_length = 8};
    static const crt_framed more = {.length_field_offset = 65, .length_field_length = 8};
    CRT_AWAIT(self->r = crt_framed_write(cx, &self->out, &more, "abc", 3));
    CHECK_EQ(self->r, CRT_EINVAL);
    CRT_AWAIT(self->r = crt_framed_write(cx, &self->out, &most, "abc", 3));
    CHECK(self->r == 3 && crt_writer_buffered(&self->out) == 64 + 8 + 3);
    CRT_AWAIT(self->r = crt_writer_flush(cx, &self->out));
    CHECK_EQ(self->r, 0);
    if (self->r == 0) CRT_AWAIT(self->r = crt_framed_read(cx, &self->in, &most, &self->data));
    CHECK(self->r == 3 && self->data && !memcmp(self->data, "abc", 3));
    crt_writer_drop(&self->out);
    crt_reader_drop(&self->in);
    crt_close(&self->a);
    crt_close(&self->b);
    CRT_END;
}

// crt__mock_close: crt_abort(clock) removed. The wait would keep the task of the clock for a day.
SCENE(a_script_that_is_closed_while_it_waits_leaves_no_task)
{
    static const crt_mock_step steps[] = {crt_mock_wait(CRT_SEC(86400)), crt_mock_read("x", 1)};
    crt_runtime_metrics m;
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_mock_new(cx, "waits", steps, 2, &self->a), 0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(2), crt_read(cx, self->a, self->buf, 1)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    crt_metrics(cx->rt, &m);
    CHECK_EQ(m.num_alive_tasks, 2);   // this one, and the clock
    crt_close(&self->a);
    for (self->i = 0; self->i < 1000; self->i++) {
        crt_metrics(cx->rt, &m);
        if (m.num_alive_tasks == 1) break;
        CRT_AWAIT(crt_yield_now(cx));
    }
    crt_metrics(cx->rt, &m);
    CHECK_EQ(m.num_alive_tasks, 1);
    CRT_END;
}

// crt__pieces_total: count > CRT__PIECES_MOST made >=.
SCENE(there_may_be_1024_pieces_and_no_more)
{
    static crt_iovec pieces[1025];
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 64, &self->a, &self->b), 0);
    pieces[1023] = pieces[1024] = (crt_iovec){self->buf, 1};
    CRT_AWAIT(self->r = crt_writev(cx, self->a, pieces, 1024));
    CHECK_EQ(self->r, 1);
    CRT_AWAIT(self->r = crt_writev(cx, self->a, pieces, 1025));
    CHECK_EQ(self->r, CRT_EINVAL);
    CHECK_EQ(crt_try_writev(self->a, pieces, 1024), 1);
    CHECK_EQ(crt_try_writev(self->a, pieces, 1025), CRT_EINVAL);
    crt_close(&self->a);
    crt_close(&self->b);
    CRT_END;
}

// ---- sockets ----------------------------------------------------------------------------

// crt__datagram_done: m->addr.len = h->msg_namelen removed. Nobody could answer.
SCENE(each_datagram_of_a_batch_names_its_sender)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_udp_bind(cx, "127.0.0.1:0", &self->u));
    CRT_AWAIT(self->r = crt_udp_bind(cx, "127.0.0.1:0", &self->v));
    CHECK(self->u && self->v && crt_local_addr(self->v, &self->to) == 0);
    CRT_AWAIT(self->r = crt_udp_send_to(cx, self->u, "one", 3, &self->to));
    CHECK_EQ(self->r, 3);
    memset(self->msg, 0, sizeof self->msg);
    self->msg[0].buf = self->buf;
    self->msg[0].size = 16;
    CRT_AWAIT(self->r = crt_udp_recv_many(cx, self->v, self->msg, 1));
    CHECK(self->r == 1 && self->msg[0].len == 3);
    CHECK(crt_local_addr(self->u, &self->to) == 0 && crt_addr_equal(&self->to, &self->msg[0].addr));
    CHECK(self->msg[0].addr.len > 0);
    crt_close(&self->u);
    crt_close(&self->v);
    CRT_END;
}

// crt_udp_bind_ex: desc->no_multicast_loop taken for true. And 0 is a traffic class (crt__set_tos: tos <= 0).
SCENE(a_desc_of_zeros_leaves_the_loop_on_and_the_class_can_be_reset)
{
    static const crt_udp_desc zeros, off = {.no_multicast_loop = true, .tos = 16};
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_udp_bind_ex(cx, "127.0.0.1:0", &zeros, &self->u));
    CRT_AWAIT(self->r = crt_udp_bind_ex(cx, "127.0.0.1:0", &off, &self->v));
    CHECK(crt_udp_get_multicast_loop(self->u) == 1 && crt_udp_get_multicast_loop(self->v) == 0);
    CHECK_EQ(crt_udp_get_tos(self->v), 16);
    CHECK(crt_udp_set_tos(self->v, 0) == 0 && crt_udp_get_tos(self->v) == 0);
    crt_close(&self->u);
    crt_close(&self->v);
    CRT_END;
}

#ifdef __linux__   // others have none on such a socket
// crt__set_ip_option: the option of IPv4 of a socket of IPv6 removed. What it sends to a mapped address has it too.
SCENE(a_socket_of_ipv6_has_its_options_for_ipv4_too)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_udp_bind(cx, "[::]:0", &self->u));
    if (self->r) CRT_RETURN(0);   // there is no IPv6 here
    CHECK(crt_udp_set_ttl(self->u, 77) == 0 && crt_udp_set_tos(self->u, 16) == 0);
    int value = 0;
    socklen_t n = sizeof value;
    CHECK(!getsockopt((int)crt_udp_fd(self->u), IPPROTO_IP, IP_TTL, &value, &n) && value == 77);
    n = sizeof value;
    CHECK(!getsockopt((int)crt_udp_fd(self->u), IPPROTO_IP, IP_TOS, &value, &n) && value == 16);
    crt_close(&self->u);
    CRT_END;
}
#endif

// crt__reactor_add: EPOLLRDHUP removed. Bytes and the end behind them come as one event: a read that is not filled
// by the bytes says that there are no more of them, not that there is no end.
SCENE(the_end_that_came_with_the_last_bytes_is_read)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    CHECK(self->l && !crt_local_addr(self->l, &self->to));
    crt_addr_format(&self->to, self->path, PATH_ROOM);
    CRT_AWAIT(self->r = crt_tcp_connect(cx, self->path, &self->a));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_try_write(self->a, "abc", 3), 3);
    CRT_AWAIT(self->r = crt_shutdown(cx, self->a));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_accept(cx, self->l, &self->b, NULL));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_readable(cx, self->b));
    CRT_AWAIT(self->r = crt_read(cx, self->b, self->buf, sizeof self->buf));
    CHECK_EQ(self->r, 3);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(10), crt_read(cx, self->b, self->buf, sizeof self->buf)));
    CHECK_EQ(self->r, 0);
    crt_close(&self->a);
    crt_close(&self->b);
    crt_close(&self->l);
    CRT_END;
}

// Each of these begins with *out = NULL, which one removed line would leave as it was.
SCENE(what_is_refused_leaves_null_behind)
{
    static const crt_listen_desc bad = {.backlog = -1};
    scene *self = frame;
    CRT_BEGIN(self, cx);
    void *x = self;
    self->l = x;
    CRT_AWAIT(self->r = crt_unix_listen(cx, "", &bad, &self->l));
    CHECK(self->r == CRT_EINVAL && !self->l);
    self->l = x = frame;
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "", &bad, &self->l));
    CHECK(self->r == CRT_EINVAL && !self->l);
    self->a = x = frame;
    CRT_AWAIT(self->r = crt_unix_connect(cx, "", &self->a));
    CHECK(self->r == CRT_EINVAL && !self->a);
    self->a = x = frame;
    CRT_AWAIT(self->r = crt_tcp_connect(cx, "no address", &self->a));
    CHECK(self->r == CRT_EINVAL && !self->a);
    self->u = x = frame;
    CRT_AWAIT(self->r = crt_udp_bind(cx, "no address", &self->u));
    CHECK(self->r == CRT_EINVAL && !self->u);
    self->u = x = frame;
    CRT_AWAIT(self->r = crt_unix_dgram_bind(cx, "", NULL, &self->u));
    CHECK(self->r == CRT_EINVAL && !self->u);
    self->a = self->b = x = frame;
    CHECK(crt_duplex(cx, 0, &self->a, &self->b) == CRT_EINVAL && !self->a && !self->b);
    CRT_END;
}

// ---- files ------------------------------------------------------------------------------

// crt__file_call: slot->op = NULL removed. Without memory the reference would be given back twice.
SCENE(a_call_that_was_held_and_has_no_memory_gives_its_file_back_once)
{
    static const crt_fs_open_desc how = {.read = true, .write = true, .create = true};
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_fs_open(cx, in_dir(self->path, "held"), &how, &self->f));
    CHECK_EQ(self->r, 0);
    for (self->i = 0; self->i < 3; self->i++) {
        while (crt_coop_budget(cx) && !crt_consume_budget(cx)) {}
        fail_after(0);
        CRT_AWAIT(self->r = crt_file_metadata(cx, self->f, &self->stat));
        fail_after(-1);
        CHECK_EQ(self->r, CRT_ENOMEM);
    }
    CRT_AWAIT(self->r = crt_file_metadata(cx, self->f, &self->stat));
    CHECK(self->r == 0 && self->stat.kind == CRT_FS_FILE);
    crt_close(&self->f);
    CRT_END;
}

#ifndef _WIN32
// crt__fs_remove_all_run: CRT_FREE(l) removed. Each level above the one that fails would be lost.
SCENE(remove_dir_all_without_memory_loses_no_level)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_fs_create_dir_all(cx, in_dir(self->path, "deep/deep/deep/deep"), 0700));
    CHECK_EQ(self->r, 0);
    in_dir(self->path, "deep");
    for (self->k = 0;; self->k++) {
        fail_after(self->k);
        CRT_AWAIT(self->r = crt_fs_remove_dir_all(cx, self->path));
        fail_after(-1);
        if (self->r != CRT_ENOMEM) break;
    }
    CHECK(self->r == 0 && self->k > 3);
    CRT_END;
}
#endif
#ifdef __linux__
// crt__read_all: st.kind == CRT_FS_FILE removed. The size of a directory says nothing.
SCENE(a_directory_is_not_too_large_to_be_read)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_fs_read_file_max(cx, dir, 1, &self->data, &self->n));
    CHECK_EQ(self->r, -EISDIR);
    CRT_END;
}
#endif

// ---- children ---------------------------------------------------------------------------

#ifndef _WIN32
// crt__output_begin: the close of a stdin without input removed. It would be read from, which fails.
SCENE(a_child_whose_stdin_is_a_pipe_without_input_reads_the_end)
{
    static const char *const argv[] = {"cat", NULL};
    static const crt_process_desc how = {.argv = argv, .in = {.kind = CRT_STDIO_PIPE}};
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_process_output(cx, &how, &self->o));
    CHECK(self->r == 0 && crt_exit_ok(&self->o.status) && self->o.out_n == 0);
    crt_output_free(&self->o);
    CRT_END;
}

// crt__start_fds: d->fds[i].as < 0 made <= 0. 0 is a number too.
SCENE(a_descriptor_may_become_number_0_of_a_child)
{
    static const char *const argv[] = {"cat", NULL};
    static crt_process_fd fds[1];
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CHECK(!test_pipe(self->fd) && write(self->fd[1], "abc", 3) == 3);
    close(self->fd[1]);
    fds[0] = (crt_process_fd){self->fd[0], 0, 0};
    static const crt_process_desc how = {.argv = argv, .out = {.kind = CRT_STDIO_PIPE}, .fds = fds, .fd_count = 1};
    CRT_AWAIT(self->r = crt_process_spawn(cx, &how, &self->p));
    CHECK_EQ(self->r, 0);
    if (self->r < 0) CRT_RETURN(0);
    self->a = crt_process_take_stdout(self->p);
    CRT_AWAIT(self->r = crt_read_to_end(cx, self->a, &self->bytes, 100));
    CHECK(self->r == 3 && !memcmp(self->bytes.data, "abc", 3));
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->st));
    CHECK(self->r == 0 && crt_exit_ok(&self->st));
    crt_bytes_drop(&self->bytes);
    crt_close(&self->a);
    crt_close(&self->p);
    close(self->fd[0]);
    CRT_END;
}
#endif
#ifdef __linux__
// crt__process_reap: core_dumped = info.si_code == CLD_DUMPED removed. (No core is made: waitid says so here.)
SCENE(a_child_that_leaves_a_core_is_said_to)
{
    static const char *const argv[] = {"sh", "-c", "kill -9 $$", NULL};
    static const crt_process_desc how = {.argv = argv};
    scene *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 2; self->i++) {
        dumps = self->i;
        CRT_AWAIT(self->r = crt_process_spawn(cx, &how, &self->p));
        CHECK_EQ(self->r, 0);
        CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->st));
        CHECK(self->r == 0 && self->st.code == -1 && self->st.signal == 9 && self->st.core_dumped == dumps);
        crt_close(&self->p);
    }
    dumps = false;
    CRT_END;
}
#endif

// ---- metrics ----------------------------------------------------------------------------

// crt_metrics: remote_schedule_count removed. A job of the pool wakes its task from outside.
static intptr_t nothing(void *unused) { return (void)unused, 7; }
SCENE(a_wake_from_outside_is_counted)
{
    crt_runtime_metrics m;
    scene *self = frame;
    CRT_BEGIN(self, cx);
    crt_metrics(cx->rt, &m);
    self->since = (crt_instant)m.remote_schedule_count;
    for (self->i = 0; self->i < 100; self->i++) {   // one may have ended before it is waited for
        CHECK_EQ(crt_spawn_blocking(cx, &self->join, nothing, NULL), 0);
        CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
        crt_metrics(cx->rt, &m);
        if (m.remote_schedule_count > (uint64_t)self->since) break;
    }
    CHECK(self->i < 100);
    CRT_END;
}

// ---- more of streams --------------------------------------------------------------------

// crt_writer_init, crt_reader_init: memset removed. What was in the frame before is not what is buffered.
SCENE(buffers_begin_empty_whatever_was_there)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 64, &self->a, &self->b), 0);
    memset(&self->out, 0x5a, sizeof self->out);
    memset(&self->in, 0x5a, sizeof self->in);
    crt_writer_init(&self->out, self->a, NULL, 0);
    crt_reader_init(&self->in, self->b, NULL, 0);
    CHECK(crt_writer_buffered(&self->out) == 0 && crt_reader_buffered(&self->in) == 0);
    CRT_AWAIT(self->r = crt_writer_write_all(cx, &self->out, "a\n", 2));
    CHECK_EQ(self->r, 2);
    CRT_AWAIT(self->r = crt_writer_flush(cx, &self->out));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_reader_read_line(cx, &self->in, 0, &self->text));
    CHECK(self->r == 1 && self->text && !strcmp(self->text, "a"));
    crt_writer_drop(&self->out);
    crt_reader_drop(&self->in);
    crt_close(&self->a);
    crt_close(&self->b);
    CRT_END;
}

typedef struct pair {
    crt_frame co;
    crt_stream *a, *b, *c, *d;
    crt_copier_pair copier;
    crt_instant since;
    crt_poll r;
    int i;
} pair;
// ---- more of files ----------------------------------------------------------------------

#ifndef _WIN32
// crt__level_pop, crt__level_step: -ENOENT made an error. Somebody else may remove the same.
SCENE(what_others_have_removed_meanwhile_is_removed)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_fs_create_dir_all(cx, in_dir(self->path, "both/below"), 0700));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_fs_write_file(cx, in_dir(self->path, "both/file"), "x", 1));
    CHECK_EQ(self->r, 0);
    others_remove = true;
    CRT_AWAIT(self->r = crt_fs_remove_dir_all(cx, in_dir(self->path, "both")));
    others_remove = false;
    CHECK(self->r == 0 && access(self->path, F_OK) != 0);
    CRT_END;
}
#endif

// ---- more of metrics --------------------------------------------------------------------

static crt_poll ends_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_END;
}
// crt_metrics_worker: the length of the queue made 0.
static crt_poll depth_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    crt_worker_metrics m;
    for (int i = 0; i < 10; i++) CHECK_EQ(crt_spawn(cx, ends_run, &(pair){.r = 0}), 0);
    CHECK_EQ(crt_metrics_worker(cx->rt, 0, &m), 0);
    CHECK(m.local_queue_depth >= 9 && m.local_queue_depth <= 10);   // the last may be beside the queue
    CRT_END;
}
static void tasks_in_the_queue_of_a_worker_are_counted(void)
{
    crt_config c = {.flavor = CRT_MULTI_THREAD, .worker_threads = 1};
    crt_runtime *rt;
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    crt_join_handle *join = NULL;
    crt_handle *h = crt_runtime_handle(rt);
    CHECK_EQ(crt_handle_spawn_join(h, &join, depth_run, &(pair){.r = 0}), 0);
    crt_handle_drop(&h);
    CHECK_EQ(crt_join_blocking(&join, NULL), 0);
    crt_runtime_drop(&rt);
}

// crt__epoll_wait: timeout_ns < 0 ? -1 removed. A worker with nothing to do would look each millisecond.
static void who_has_nothing_to_do_sleeps(void)
{
    crt_config c = {.flavor = CRT_MULTI_THREAD, .worker_threads = 1};
    crt_runtime *rt;
    crt_runtime_metrics before, after;
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    test_pause_us(20000);
    crt_metrics(rt, &before);
    test_pause_us(100000);
    crt_metrics(rt, &after);
    CHECK(after.worker_park_count - before.worker_park_count <= 2);
    CHECK(after.worker_noop_count - before.worker_noop_count <= 2);
    crt_runtime_drop(&rt);
}

// ---- waits cost nothing, and what is refused ----------------------------------------------

// crt__io_park: crt__coop_return removed; crt__io_plain: cx->budget-- removed. A wait costs no budget, and
// gives none: an arm that waits at each poll would use it up, or fill it.
SCENE(what_waits_leaves_the_budget_as_it_was)
{
    scene *self = frame;
    uint32_t before;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
    CRT_AWAIT(self->r = crt_udp_bind(cx, "127.0.0.1:0", &self->u));
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->l));
    CHECK_EQ(self->r, 0);
    // At first each may look in vain.
    CHECK_EQ(crt_try_read(self->a, self->buf, 1), CRT_EAGAIN);
    CHECK_EQ(crt_try_accept(self->l, &self->c, NULL), CRT_EAGAIN);
    CHECK_EQ(crt_udp_try_recv_from(self->u, self->buf, 1, NULL), CRT_EAGAIN);
    for (self->i = 0; self->i < 5; self->i++) {
        before = crt_coop_budget(cx);
        switch (self->i) {
        case 0: self->r = crt_read(cx, self->a, self->buf, 1); break;
        case 1: self->r = crt_readable(cx, self->a); break;
        case 2: self->r = crt_peek(cx, self->a, self->buf, 1); break;
        case 3: self->r = crt_accept(cx, self->l, &self->c, NULL); break;
        default: self->r = crt_udp_recv(cx, self->u, self->buf, 1); break;
        }
        CHECK(self->r == CRT_PENDING && crt_coop_budget(cx) == before);
        CRT_AWAIT(self->r = crt_yield_now(cx));   // which lets go of the wait
    }
    crt_close(&self->a);
    crt_close(&self->b);
    crt_close(&self->u);
    crt_close(&self->l);
    CRT_END;
}

// crt_reader_read: || !r->want removed. What asks for nothing waits for nothing.
SCENE(a_buffered_read_of_nothing_does_not_wait)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 64, &self->a, &self->b), 0);
    crt_reader_init(&self->in, self->b, NULL, 0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(5), crt_reader_read(cx, &self->in, self->buf, 0)));
    CHECK_EQ(self->r, 0);
    crt_reader_drop(&self->in);
    crt_close(&self->a);
    crt_close(&self->b);
    CRT_END;
}

// Here too: *a = *b = NULL, where there is no driver.
static crt_poll no_driver_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    void *x = frame;
    self->a = self->b = x;
    CHECK(crt_stream_pair(cx, &self->a, &self->b) == CRT_ENODRIVER && !self->a && !self->b);
    self->a = self->b = x;
    CHECK(crt_pipe(cx, &self->a, &self->b) == CRT_ENODRIVER && !self->a && !self->b);
    self->u = self->v = x;
    CHECK(crt_unix_dgram_pair(cx, &self->u, &self->v) == CRT_ENODRIVER && !self->u && !self->v);
    CRT_END;
}
static void pairs_without_a_driver_are_null(void)
{
    crt_config c = {.flavor = CRT_CURRENT_THREAD, .drivers = CRT_DRIVER_TIME, .log = {.func = test_log}};
    crt_runtime *rt;
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    CHECK_EQ(crt_block_on(rt, no_driver_run, &(scene){.r = 0}), 0);
    crt_runtime_drop(&rt);
}

#ifdef __linux__
// crt__options_set: && o->mode removed. The file of a socket without a mode of its own has what the umask leaves.
SCENE(a_socket_file_has_the_mode_that_the_umask_leaves)
{
    scene *self = frame;
    struct stat st;
    CRT_BEGIN(self, cx);
    self->k = (int)umask(022);
    in_dir(self->path, "mode");
    CRT_AWAIT(self->r = crt_unix_listen(cx, self->path, NULL, &self->l));
    CHECK(self->r == 0 && !stat(self->path, &st) && (st.st_mode & 0777) == 0755);
    unlink(self->path);
    CRT_AWAIT(self->r = crt_unix_dgram_bind(cx, self->path, NULL, &self->u));
    CHECK(self->r == 0 && !stat(self->path, &st) && (st.st_mode & 0777) == 0755);
    umask((mode_t)self->k);
    unlink(self->path);
    crt_close(&self->l);
    crt_close(&self->u);
    CRT_END;
}
#endif

// crt_udp_bind_ex: desc->multicast_ttl taken for true. Zeros leave it at 1.
SCENE(a_desc_of_zeros_leaves_the_multicast_ttl_at_1)
{
    static const crt_udp_desc zeros;
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_udp_bind_ex(cx, "127.0.0.1:0", &zeros, &self->u));
    CHECK(self->r == 0 && crt_udp_get_multicast_ttl(self->u) == 1);
    crt_close(&self->u);
    CRT_END;
}

// crt_copy_bidirectional: moved = 1 removed. The time without a byte begins with the call.
static crt_poll idle_run(void *frame, crt_cx *cx)
{
    pair *self = frame;
    CRT_BEGIN(self, cx);
    CHECK(!crt_duplex(cx, 8, &self->a, &self->c) && !crt_duplex(cx, 8, &self->b, &self->d));
    for (self->i = 0; self->i < 2; self->i++) {   // as it is, and used again
        self->copier.idle = CRT_SEC(5);
        self->since = crt_now(cx);
        CRT_AWAIT(self->r = crt_copy_bidirectional(cx, &self->copier, self->a, self->b));
        CHECK(self->r == CRT_ETIMEDOUT && crt_now(cx) - self->since >= CRT_SEC(5));
        CRT_AWAIT(self->r = crt_sleep(cx, CRT_SEC(60)));
    }
    crt_close(&self->a);
    crt_close(&self->b);
    crt_close(&self->c);
    crt_close(&self->d);
    CRT_END;
}
static void the_idle_time_of_a_copy_begins_with_it(void)
{
    paused = true;
    run(idle_run, &(pair){.r = 0});
    paused = false;
}

#ifndef _WIN32
// crt__stdio_wake_free: one of its closes removed. Who has used stdin leaves no descriptor.
SCENE(the_thread_of_stdin_leaves_no_descriptor)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    self->i = test_fd_count();
    self->fd[0] = dup(0);
    CHECK(!test_pipe(self->fd + 1) && dup2(self->fd[1], 0) == 0);   // a pipe in which nothing comes
    CHECK_EQ(crt_stdin(cx, &self->a), 0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_read(cx, self->a, self->buf, 1)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK(test_fd_count() > self->i);
    crt_close(&self->a);
    dup2(self->fd[0], 0);
    close(self->fd[0]);
    close(self->fd[1]);
    close(self->fd[2]);
    for (self->k = 0; self->k < 5000 && test_fd_count() != self->i; self->k++) test_pause_us(1000);
    CHECK_EQ(test_fd_count(), self->i);
    CRT_END;
}

// ---- more of children -------------------------------------------------------------------

// crt__output_run: o->crt__in.stream || removed. A child that only reads gets its input too.
SCENE(a_child_without_outputs_gets_its_input)
{
    static const char *argv[] = {"sh", "-c", "cat >\"$0\"", NULL, NULL};
    static const crt_process_desc how = {.argv = argv, .out = {.kind = CRT_STDIO_NULL}, .err = {.kind = CRT_STDIO_NULL}};
    scene *self = frame;
    CRT_BEGIN(self, cx);
    argv[3] = in_dir(self->path, "input");
    self->o.input = "abc";
    self->o.input_n = 3;
    CRT_AWAIT(self->r = crt_process_output(cx, &how, &self->o));
    CHECK(self->r == 0 && crt_exit_ok(&self->o.status));
    crt_output_free(&self->o);
    CRT_AWAIT(self->r = crt_fs_read_file(cx, self->path, &self->data, &self->n));
    CHECK(self->r == 0 && self->n == 3 && !memcmp(self->data, "abc", 3));
    crt_free(self->data);
    CRT_END;
}

// crt__process_kill_round: p->rt != rt removed. The end of one runtime would kill the children of all.
static crt_poll starts_run(void *frame, crt_cx *cx)
{
    static const char *const argv[] = {"sleep", "1000", NULL};
    static const crt_process_desc how = {.argv = argv, .kill_on_drop = true};
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_process_spawn(cx, &how, &self->p));
    CHECK_EQ(self->r, 0);
    CRT_END;
}
static void the_end_of_a_runtime_kills_no_child_of_another(void)
{
    crt_config c = {.flavor = CRT_CURRENT_THREAD};
    crt_runtime *rt[2];
    scene s[2] = {{.r = 0}, {.r = 0}};
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(crt_runtime_new(&c, &rt[i]), 0);
        CHECK_EQ(crt_block_on(rt[i], starts_run, &s[i]), 0);
    }
    crt_runtime_drop(&rt[1]);
    CHECK_EQ(crt_process_try_wait(s[1].p, NULL), 1);
    CHECK_EQ(crt_process_try_wait(s[0].p, NULL), 0);
    crt_runtime_drop(&rt[0]);
    CHECK_EQ(crt_process_try_wait(s[0].p, NULL), 1);
    for (int i = 0; i < 2; i++) crt_close(&s[i].p);
}
#endif

#ifdef __linux__
// crt__signal_wake: crt__signal_drain removed. A pipe that is full tells of nothing more.
static crt_poll many_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(1), crt_signal_recv(cx, SIGUSR1)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    (void)fcntl(crt__signals.pipe[1], F_SETPIPE_SZ, 4096);
    for (self->i = 0; self->i < 3; self->i++) {
        for (int i = 0; i < 70000; i++) {
            errno = 0;
            kill(getpid(), SIGUSR1);
            CHECK_EQ(errno, 0);   // crt__signal_handler: errno = e removed
            int waiting = 0;
            if (i % 512 == 0 && !ioctl(crt__signals.pipe[0], FIONREAD, &waiting) && waiting >= 4096) break;
        }
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(20), crt_signal_recv(cx, SIGUSR1)));
        CHECK_EQ(self->r, 0);
    }
    CRT_END;
}
static void signals_are_heard_after_as_many_as_fill_the_pipe(void)
{
    (void)descriptors_of(many_run, &(scene){.r = 0});   // the pipe stays
}
// crt__child_set_uid: setgroups removed. A child of another user is in none of the groups of this one.
static crt_poll groups_run(void *frame, crt_cx *cx)
{
    static const char *const argv[] = {"id", "-G", NULL};
    static const crt_process_desc how = {.argv = argv, .set_uid = true, .uid = 65534, .set_gid = true, .gid = 65534};
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_process_output(cx, &how, &self->o));
    if (self->r == -EPERM) CRT_RETURN(0);   // root, but not allowed to
    CHECK(self->r == 0 && crt_exit_ok(&self->o.status));
    CHECK(self->o.out && !strcmp(self->o.out, "65534\n"));
    crt_output_free(&self->o);
    CRT_END;
}
static void a_child_of_another_user_leaves_our_groups(void)
{
    gid_t before[64], extra = 12345;
    int n = geteuid() ? -1 : getgroups(64, before);
    if (n < 0 || setgroups(1, &extra)) return;   // only root may
    run(groups_run, &(scene){.r = 0});
    CHECK_EQ(setgroups((size_t)n, before), 0);
}
// crt__signal_subscribe: if (rt->signal_registered) return 0 removed, its descriptor not close-on-exec;
// crt__signal_hook: SA_RESTART removed; crt__signal_allowed: one of those that cannot be waited for.
static crt_poll subscribes_run(void *frame, crt_cx *cx)
{
    static const int none[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGILL, SIGFPE, SIGBUS, 0, -1, CRT__SIGNALS};
    struct sigaction how;
    scene *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 4; self->i++) {
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(1), crt_signal_recv(cx, SIGUSR2)));
        CHECK_EQ(self->r, CRT_ETIMEDOUT);
        if (!self->i) self->k = test_fd_count();
    }
    CHECK_EQ(test_fd_count(), self->k);
    CHECK(fcntl((int)cx->rt->signal_registered - 1, F_GETFD) & FD_CLOEXEC);
    CHECK(!sigaction(SIGUSR2, NULL, &how) && (how.sa_flags & SA_RESTART));
    for (self->i = 0; self->i < (int)(sizeof none / sizeof *none); self->i++) {
        CRT_AWAIT(self->r = crt_signal_recv(cx, none[self->i]));
        CHECK_EQ(self->r, CRT_EINVAL);
    }
    CRT_END;
}
static void a_runtime_listens_to_signals_once(void)
{
    (void)descriptors_of(subscribes_run, &(scene){.r = 0});
}
// crt__signal_subscribe: fd_registered not counted up. Where nothing else is watched a busy runtime would not look.
static crt_poll busy_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    raise(SIGUSR2);
    self->since = crt_now(cx);
    while (!__atomic_load_n((int *)self->data, __ATOMIC_SEQ_CST) && crt_now(cx) - self->since < CRT_SEC(10))
        CRT_AWAIT(crt_yield_now(cx));
    CHECK(__atomic_load_n((int *)self->data, __ATOMIC_SEQ_CST));
    CRT_END;
}
static crt_poll hears_busy_run(void *frame, crt_cx *cx)
{
    static int heard;
    scene *self = frame;
    CRT_BEGIN(self, cx);
    heard = 0;
    CHECK_EQ(crt_spawn_join(cx, &self->join, busy_run, &(scene){.data = &heard}), 0);
    CRT_AWAIT(self->r = crt_signal_recv(cx, SIGUSR2));
    CHECK_EQ(self->r, 0);
    __atomic_store_n(&heard, 1, __ATOMIC_SEQ_CST);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CRT_END;
}
static void signals_are_heard_by_who_is_busy(void)
{
    (void)descriptors_of(hears_busy_run, &(scene){.r = 0});
}
#endif

// ---- sums -------------------------------------------------------------------------------

static crt_poll yields_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_yield_now(cx));
    CRT_AWAIT(crt_yield_now(cx));
    CRT_END;
}
static crt_poll spawns_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    for (int i = 0; i < 600; i++) CHECK_EQ(crt_spawn(cx, yields_run, &(pair){.r = 0}), 0);
    CRT_END;
}
// crt_metrics: worker_steal_operations, and others, not summed up; crt_metrics_worker: mean_poll_ns removed.
static void what_the_workers_count_adds_up(void)
{
    crt_config c = {.flavor = CRT_MULTI_THREAD, .worker_threads = 4, .poll_histogram = CRT_HISTOGRAM_LOG,
                    .schedule_histogram = CRT_HISTOGRAM_LOG};
    crt_runtime *rt;
    crt_runtime_metrics all, again;
    crt_worker_metrics sum, w;
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    crt_handle *h = crt_runtime_handle(rt);
    for (int i = 0; i < 50; i++) {   // until something has been stolen, too
        CHECK_EQ(crt_handle_spawn(h, spawns_run, &(pair){.r = 0}), 0);
        for (int k = 0; k < 20000; k++) {
            crt_metrics(rt, &all);
            if (!all.num_alive_tasks) break;
            test_pause_us(500);
        }
        crt_metrics_worker(rt, 0, &sum);
        for (int k = 1; k < 4; k++) {
            crt_metrics_worker(rt, k, &w);
            sum.steal_operations += w.steal_operations;
        }
        if (sum.steal_operations > 0) break;
    }
    for (int i = 0; i < 20000; i++) {   // until nothing changes any more
        crt_metrics(rt, &all);
        memset(&sum, 0, sizeof sum);
        for (int k = 0; k < 4; k++) {
            crt_metrics_worker(rt, k, &w);
            sum.park_count += w.park_count;
            sum.noop_count += w.noop_count;
            sum.steal_count += w.steal_count;
            sum.steal_operations += w.steal_operations;
            sum.poll_count += w.poll_count;
            sum.local_schedule_count += w.local_schedule_count;
            sum.overflow_count += w.overflow_count;
            sum.busy_ns += w.busy_ns;
            sum.poll_histogram_count += w.poll_histogram_count;
            sum.poll_histogram_ns += w.poll_histogram_ns;
            sum.schedule_histogram_count += w.schedule_histogram_count;
            sum.schedule_histogram_ns += w.schedule_histogram_ns;
            sum.park_unpark_count += w.park_unpark_count;
            if (w.poll_count) CHECK(w.mean_poll_ns > 0);
        }
        crt_metrics(rt, &again);
        if (!all.num_alive_tasks && !memcmp(&all, &again, sizeof all)) break;
        test_pause_us(500);
    }
    CHECK(sum.local_schedule_count > 0 && sum.poll_count > 0 && sum.park_count > 0);
    CHECK(sum.poll_histogram_count > 0 && sum.schedule_histogram_count > 0);
    CHECK_EQ(all.poll_histogram_count, sum.poll_histogram_count);
    CHECK_EQ(all.poll_histogram_ns, sum.poll_histogram_ns);
    CHECK_EQ(all.schedule_histogram_count, sum.schedule_histogram_count);
    CHECK_EQ(all.schedule_histogram_ns, sum.schedule_histogram_ns);
    CHECK_EQ(all.worker_park_count, sum.park_count);
    CHECK_EQ(all.worker_noop_count, sum.noop_count);
    CHECK_EQ(all.worker_steal_count, sum.steal_count);
    CHECK_EQ(all.worker_steal_operations, sum.steal_operations);
    CHECK_EQ(all.worker_poll_count, sum.poll_count);
    CHECK_EQ(all.worker_local_schedule_count, sum.local_schedule_count);
    CHECK_EQ(all.worker_overflow_count, sum.overflow_count);
    CHECK_EQ(all.worker_busy_ns, sum.busy_ns);
    CHECK_EQ(all.worker_park_unpark_count, sum.park_unpark_count);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}

// crt_reader_fill: >= r->want made >. What is there takes budget too.
SCENE(a_fill_that_has_enough_takes_budget)
{
    scene *self = frame;
    uint32_t before;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_duplex(cx, 64, &self->a, &self->b), 0);
    CHECK_EQ(crt_try_write(self->a, "abc", 3), 3);
    crt_reader_init(&self->in, self->b, NULL, 0);
    CRT_AWAIT(self->r = crt_reader_fill(cx, &self->in, 3));
    CHECK_EQ(self->r, 3);
    CRT_AWAIT(self->r = crt_yield_now(cx));
    before = crt_coop_budget(cx);
    self->r = crt_reader_fill(cx, &self->in, 3);
    CHECK(self->r == 3 && crt_coop_budget(cx) == before - 1);
    crt_reader_drop(&self->in);
    crt_close(&self->a);
    crt_close(&self->b);
    CRT_END;
}

// ---- the rest ---------------------------------------------------------------------------

#ifndef _WIN32
// crt__is_socket_file: S_ISSOCK removed. A file that is no socket is not stale; it would be gone.
SCENE(unlink_stale_leaves_what_is_no_socket)
{
    static const crt_listen_desc how = {.unlink_stale = true};
    static const crt_udp_desc how_too = {.unlink_stale = true};
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_fs_write_file(cx, in_dir(self->path, "plain"), "precious", 8));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_unix_listen(cx, self->path, &how, &self->l));
    CHECK_EQ(self->r, -EADDRINUSE);
    CRT_AWAIT(self->r = crt_unix_dgram_bind(cx, self->path, &how_too, &self->u));
    CHECK_EQ(self->r, -EADDRINUSE);
    crt_close(&self->l);
    crt_close(&self->u);
    CRT_AWAIT(self->r = crt_fs_read_file(cx, self->path, &self->data, &self->n));
    CHECK(self->r == 0 && self->n == 8);
    crt_free(self->data);
    CRT_END;
}

// crt__child_run: && c->group removed. A child is in its parent's group, unless it is told otherwise.
SCENE(a_child_stays_in_the_group_of_its_parent)
{
    static const char *const argv[] = {"cat", NULL};
    scene *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 2; self->i++) {
        static crt_process_desc how = {.argv = argv, .in = {.kind = CRT_STDIO_PIPE}};
        how.group = self->i ? CRT_PROCESS_NEW_GROUP : 0;
        CRT_AWAIT(self->r = crt_process_spawn(cx, &how, &self->p));
        CHECK_EQ(self->r, 0);
        if (self->r < 0) continue;
        CHECK_EQ(getpgid(crt_process_id(self->p)), self->i ? crt_process_id(self->p) : getpgrp());
        CRT_AWAIT(self->r = crt_process_wait(cx, self->p, &self->st));
        CHECK(self->r == 0 && crt_exit_ok(&self->st));
        crt_close(&self->p);
    }
    CRT_END;
}
#endif

// crt_mock_new: the copy of a step's bytes removed. The script is copied: who made it may use its memory again.
SCENE(a_script_is_copied_with_its_bytes)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    char text[] = "PING";
    crt_mock_step steps[] = {crt_mock_read(text, 4)};
    CHECK_EQ(crt_mock_new(cx, NULL, steps, 1, &self->a), 0);
    memset(text, '?', 4);
    CRT_AWAIT(self->r = crt_read(cx, self->a, self->buf, 9));
    CHECK(self->r == 4 && !memcmp(self->buf, "PING", 4));
    crt_close(&self->a);
    CRT_END;
}

// crt__sock_unalloc: rt->sock_free = s removed. Records are used again.
SCENE(connections_that_end_make_room_for_others)
{
    crt_runtime_metrics m;
    scene *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 300; self->i++) {
        CHECK_EQ(crt_stream_pair(cx, &self->a, &self->b), 0);
        crt_close(&self->a);
        crt_close(&self->b);
        crt_metrics(cx->rt, &m);
        if (self->i == 0) self->n = (size_t)m.bytes_allocated;
    }
    CHECK_EQ(m.bytes_allocated, self->n);
    CRT_END;
}

// crt__udp_go_on: && untold removed. Who receives waits for an event, not for a clock, which there may not be.
static crt_poll sends_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_udp_try_send_to(self->u, "abc", 3, &self->to), 3);
    CRT_END;
}
static crt_poll untimed_run(void *frame, crt_cx *cx)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_udp_bind(cx, "127.0.0.1:0", &self->u));
    CRT_AWAIT(self->r = crt_udp_bind(cx, "127.0.0.1:0", &self->v));
    CHECK(self->u && self->v && !crt_local_addr(self->v, &self->to));
    for (self->i = 0; self->i < 3; self->i++) {
        CHECK_EQ(crt_spawn(cx, sends_run, &(scene){.u = self->u, .to = self->to}), 0);
        CRT_AWAIT(self->r = crt_udp_recv(cx, self->v, self->buf, 9));
        CHECK_EQ(self->r, 3);
    }
    crt_close(&self->u);
    crt_close(&self->v);
    CRT_END;
}
static void datagrams_are_waited_for_without_a_clock(void)
{
    crt_config c = {.flavor = CRT_CURRENT_THREAD, .drivers = CRT_DRIVER_IO, .log = {.func = test_log}};
    crt_runtime *rt;
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    CHECK_EQ(crt_block_on(rt, untimed_run, &(scene){.r = 0}), 0);
    crt_runtime_drop(&rt);
}

// crt_stream_from_fd and its like: *out = NULL removed.
SCENE(what_takes_a_descriptor_and_fails_leaves_null)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    void *x = frame;
    self->a = x;
    self->l = x;
    self->u = x;
    CHECK(crt_stream_from_fd(cx, -1, CRT_FD_OWN, &self->a) < 0 && !self->a);
    CHECK(crt_listener_from_fd(cx, -1, CRT_FD_OWN, &self->l) < 0 && !self->l);
    CHECK(crt_udp_from_fd(cx, -1, CRT_FD_OWN, &self->u) < 0 && !self->u);
    CRT_END;
}

// *f = NULL and the like removed from what opens files.
SCENE(what_opens_no_file_leaves_null)
{
    scene *self = frame;
    CRT_BEGIN(self, cx);
    void *x = frame;
    in_dir(self->path, "no such thing");
    self->f = x;
    CRT_AWAIT(self->r = crt_fs_open(cx, self->path, NULL, &self->f));
    CHECK(self->r == -ENOENT && !self->f);
    self->f = (crt_file *)frame;
    self->text = (char *)frame;
    CRT_AWAIT(self->r = crt_fs_temp_file(cx, self->path, &self->f, &self->text));
    CHECK(self->r == -ENOENT && !self->f && !self->text);
    self->text = (char *)frame;
    CRT_AWAIT(self->r = crt_fs_temp_dir(cx, self->path, &self->text));
    CHECK(self->r == -ENOENT && !self->text);
    self->text = (char *)frame;
    CRT_AWAIT(self->r = crt_fs_read_link(cx, self->path, &self->text));
    CHECK(self->r == -ENOENT && !self->text);
    self->data = frame;
    self->n = 7;
    CRT_AWAIT(self->r = crt_fs_read_file(cx, self->path, &self->data, &self->n));
    CHECK(self->r == -ENOENT && !self->data && !self->n);
    CRT_END;
}

#ifdef __linux__
// crt__attempt_start: race->due = ... removed. attempt_delay: CRT_FOREVER tries one address at a time.
enum { FILLERS = 8 };
SCENE(a_second_address_waits_for_its_turn)
{
    static crt_addr at[2];
    static const crt_connect_desc how = {.attempt_delay = CRT_FOREVER};
    static int filler[FILLERS];
    scene *self = frame;
    CRT_BEGIN(self, cx);
    // The first listens, but its queue is full: who connects hears nothing.
    self->fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(crt_addr_parse("127.0.0.1:0", &at[0]), 0);
    socklen_t n = (socklen_t)at[0].len;
    struct sockaddr *sa = (struct sockaddr *)(void *)at[0].u.bytes;
    CHECK(!bind(self->fd[0], sa, n) && !listen(self->fd[0], 0) && !getsockname(self->fd[0], sa, &n));
    for (int i = 0; i < FILLERS; i++) {
        filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        CHECK(!connect(filler[i], sa, n) || errno == EINPROGRESS);
    }
    snprintf(self->path, PATH_ROOM, "127.0.0.2:%d", crt_addr_port(&at[0]));
    CRT_AWAIT(self->r = crt_tcp_listen(cx, self->path, NULL, &self->l));
    if (self->r == 0) {   // else the port is taken there
        CHECK_EQ(crt_addr_parse(self->path, &at[1]), 0);
        for (int i = 0; i < 2; i++)
            answer[i] = (struct addrinfo){.ai_family = AF_INET, .ai_addr = (struct sockaddr *)(void *)at[i].u.bytes,
                                          .ai_addrlen = at[i].len, .ai_next = i ? NULL : &answer[1]};
        snprintf(self->path, PATH_ROOM, "two:%d", crt_addr_port(&at[0]));
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(100), crt_tcp_connect_ex(cx, self->path, &how, &self->a)));
        CHECK(self->r == CRT_ETIMEDOUT && !self->a);
        CHECK_EQ(crt_try_accept(self->l, &self->b, NULL), CRT_EAGAIN);
    }
    crt_close(&self->l);
    for (int i = 0; i < FILLERS; i++) close(filler[i]);
    close(self->fd[0]);
    CRT_END;
}
#endif

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
    test_init(argc, argv);
    CHECK(!test_directory(dir, sizeof dir));
    TEST(a_writer_uses_the_buffer_that_it_was_given);
    TEST(a_piece_as_large_as_the_buffer_of_a_writer_passes_by_it);
    TEST(a_length_field_may_come_64_bytes_into_its_frame);
    TEST(a_script_that_is_closed_while_it_waits_leaves_no_task);
    TEST(there_may_be_1024_pieces_and_no_more);
    TEST(each_datagram_of_a_batch_names_its_sender);
    TEST(a_desc_of_zeros_leaves_the_loop_on_and_the_class_can_be_reset);
#ifdef __linux__
    TEST(a_socket_of_ipv6_has_its_options_for_ipv4_too);
#endif
    TEST(the_end_that_came_with_the_last_bytes_is_read);
    TEST(what_is_refused_leaves_null_behind);
    TEST(a_call_that_was_held_and_has_no_memory_gives_its_file_back_once);
#ifndef _WIN32
    TEST(remove_dir_all_without_memory_loses_no_level);
#endif
#ifdef __linux__
    TEST(a_directory_is_not_too_large_to_be_read);
#endif
#ifndef _WIN32
    // Where there is no pidfd (memcheck has none), the first use of SIGCHLD makes a pipe that stays.
    descriptors_of(a_child_whose_stdin_is_a_pipe_without_input_reads_the_end_run, &(scene){.r = 0});
    TEST(a_child_whose_stdin_is_a_pipe_without_input_reads_the_end);
    TEST(a_descriptor_may_become_number_0_of_a_child);
#endif
#ifdef __linux__
    TEST(a_child_that_leaves_a_core_is_said_to);
#endif
    TEST(a_wake_from_outside_is_counted);
    TEST(buffers_begin_empty_whatever_was_there);
#ifndef _WIN32
    TEST(what_others_have_removed_meanwhile_is_removed);
#endif
    TEST(tasks_in_the_queue_of_a_worker_are_counted);
    TEST(who_has_nothing_to_do_sleeps);
    TEST(what_waits_leaves_the_budget_as_it_was);
    TEST(a_buffered_read_of_nothing_does_not_wait);
    TEST(pairs_without_a_driver_are_null);
#ifdef __linux__
    TEST(a_socket_file_has_the_mode_that_the_umask_leaves);
#endif
    TEST(a_desc_of_zeros_leaves_the_multicast_ttl_at_1);
    TEST(the_idle_time_of_a_copy_begins_with_it);
#ifndef _WIN32
    TEST(the_thread_of_stdin_leaves_no_descriptor);
    TEST(a_child_without_outputs_gets_its_input);
    TEST(the_end_of_a_runtime_kills_no_child_of_another);
#endif
#ifdef __linux__
    TEST(signals_are_heard_after_as_many_as_fill_the_pipe);
    TEST(a_child_of_another_user_leaves_our_groups);
    TEST(a_runtime_listens_to_signals_once);
    TEST(signals_are_heard_by_who_is_busy);
#endif
    TEST(what_the_workers_count_adds_up);
    TEST(a_fill_that_has_enough_takes_budget);
#ifndef _WIN32
    TEST(unlink_stale_leaves_what_is_no_socket);
    TEST(a_child_stays_in_the_group_of_its_parent);
#endif
    TEST(a_script_is_copied_with_its_bytes);
    TEST(connections_that_end_make_room_for_others);
    TEST(datagrams_are_waited_for_without_a_clock);
    TEST(what_takes_a_descriptor_and_fails_leaves_null);
    TEST(what_opens_no_file_leaves_null);
#ifdef __linux__
    TEST(a_second_address_waits_for_its_turn);
#endif
    run(clean_run, &(scene){.r = 0});
    return test_end();
}
