// What a caller can get wrong: each call says so by the error that its declaration names, at once,
// and nothing is lost: no descriptor, no memory, no task. NULL where something is needed, numbers out of
// range, descriptors of another kind, a runtime without the driver. What a cancelled task calls is
// answered by CRT_UNWIND.
#define CRT_IMPLEMENTATION
#define CRT_DEBUG   // which says more
#include "crt.h"
#include "harness.h"
#include "by_hand.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

// ---- tools -----------------------------------------------------------------

static int fd_count_now(void) { return test_fd_count(); }
#ifdef _WIN32
#define TRUE_ARGV {"cmd.exe", "/c", "exit", NULL}   // a program that does nothing, well
#define NULL_FILE "NUL"
#define UNIX_NAME "C:/"   // no abstract names
#else
#define TRUE_ARGV {"true", NULL}
#define NULL_FILE "/dev/null"
#define UNIX_NAME "@"
#endif
static intptr_t nothing(void *arg) { return (intptr_t)arg; }
typedef struct unit {
    crt_frame co;
} unit;
static crt_poll unit_run(void *frame, crt_cx *cx)
{
    unit *self = frame;
    CRT_BEGIN(self, cx);
    CRT_FINALLY
    CRT_END;
}
// The call, made by a task that is being cancelled.
#define UNWOUND(...) CHECK_EQ(CANCEL(s[0], __VA_ARGS__), CRT_UNWIND)
#define REFUSED(error, ...) CHECK_EQ(AT(s[1], __VA_ARGS__), (error))

// ---- sockets ---------------------------------------------------------------

BODY(listeners)
{
    POLLS;
    crt_listener *l = NULL;
    crt_stream *st = NULL;
    const crt_listen_desc backlog = {.backlog = -1}, ttl = {.ttl = 256}, tos = {.tos = -1}, mode = {.mode = 010000};
    int before = fd_count_now();
    REFUSED(CRT_EINVAL, crt_tcp_listen(cx, "127.0.0.1", NULL, &l));
    REFUSED(CRT_EINVAL, crt_tcp_listen(cx, "127.0.0.1:0", &backlog, &l));
    REFUSED(CRT_EINVAL, crt_tcp_listen(cx, "127.0.0.1:0", &ttl, &l));
    REFUSED(CRT_EINVAL, crt_tcp_listen(cx, "127.0.0.1:0", &tos, &l));
    REFUSED(CRT_EINVAL, crt_unix_listen(cx, "@crt-misuse", &backlog, &l));
    REFUSED(CRT_EINVAL, crt_unix_listen(cx, "@crt-misuse", &ttl, &l));
    REFUSED(CRT_EINVAL, crt_unix_listen(cx, "/tmp/crt-misuse", &mode, &l));
    REFUSED(CRT_EINVAL, crt_unix_listen(cx, "", NULL, &l));
#ifndef _WIN32   // wine has no Unix sockets at all
    REFUSED(-ENOENT, crt_unix_listen(cx, "/tmp/crt-misuse/not/there", NULL, &l));
#endif
    REFUSED(CRT_EINVAL, crt_accept(cx, NULL, &st, NULL));
    CHECK_EQ(crt_try_accept(NULL, &st, NULL), CRT_EINVAL);
    UNWOUND(crt_tcp_listen(cx, "127.0.0.1:0", NULL, &l));
    UNWOUND(crt_unix_listen(cx, "@crt-misuse", NULL, &l));
    CHECK(!l && !st);
    CHECK_EQ(AT(s[2], crt_tcp_listen(cx, "127.0.0.1:0", NULL, &l)), 0);
    CHECK_EQ(crt_listener_set_backlog(l, 0), CRT_EINVAL);
    CHECK_EQ(crt_listener_set_backlog(NULL, 1), CRT_EINVAL);
    CHECK_EQ(crt_listener_set_ttl(l, 0), CRT_EINVAL);
    CHECK_EQ(crt_listener_get_ttl(NULL), CRT_EINVAL);
    crt_close(&l);
    crt_close(&l);
    CHECK_EQ(fd_count_now(), before);
}
BODY(streams)
{
    POLLS;
    crt_stream *a, *b;
    crt_addr addr;
    crt_peer_cred cred;
    crt_keepalive k = {.on = true, .idle = -1};
    char c = 0;
    int before = fd_count_now(), n = 0;
    CHECK_EQ(crt_stream_pair(cx, &a, &b), 0);
    k = (crt_keepalive){.on = true, .idle = -1};
    CHECK_EQ(crt_stream_set_keepalive_ex(a, &k), CRT_EINVAL);
    k = (crt_keepalive){.on = true, .interval = -1};
    CHECK_EQ(crt_stream_set_keepalive_ex(a, &k), CRT_EINVAL);
    k = (crt_keepalive){.on = true, .count = -1};
    CHECK_EQ(crt_stream_set_keepalive_ex(a, &k), CRT_EINVAL);
    CHECK_EQ(crt_stream_get_keepalive(NULL, &k), CRT_EINVAL);
    CHECK_EQ(crt_stream_get_linger(NULL, &n), CRT_EINVAL);
    CHECK_EQ(crt_stream_set_linger(NULL, 1), CRT_EINVAL);
    CHECK_EQ(crt_stream_set_tos(a, -1), CRT_EINVAL);
    CHECK_EQ(crt_stream_set_tos(a, 256), CRT_EINVAL);
    CHECK_EQ(crt_stream_set_ttl(a, 0), CRT_EINVAL);
    CHECK_EQ(crt_stream_set_ttl(a, 256), CRT_EINVAL);
    CHECK_EQ(crt_stream_set_recv_buffer(a, -1), CRT_EINVAL);
    CHECK_EQ(crt_stream_local_addr(NULL, &addr), CRT_EINVAL);
    CHECK_EQ(crt_unix_peer_cred(NULL, &cred), CRT_EINVAL);
    CHECK_EQ(crt_stream_fd(NULL), CRT_EINVAL);
    REFUSED(CRT_EINVAL, crt_read(cx, NULL, &c, 1));
#if SIZE_MAX > UINT32_MAX
    REFUSED(CRT_EINVAL, crt_read(cx, a, &c, (size_t)UINT32_MAX + 1));
    CHECK_EQ(crt_try_read(a, &c, (size_t)UINT32_MAX + 1), CRT_EINVAL);
    CHECK_EQ(crt_try_write(a, &c, (size_t)UINT32_MAX + 1), CRT_EINVAL);
#endif
    REFUSED(CRT_EINVAL, crt_readable(cx, NULL));
    REFUSED(CRT_EINVAL, crt_shutdown(cx, NULL));
    UNWOUND(crt_shutdown(cx, a));
    CHECK_EQ(crt_try_read(NULL, &c, 1), CRT_EINVAL);
    CHECK(crt_stream_clone(NULL) == NULL);
    CHECK_EQ(crt_try_write(a, "x", 1), 1);   // the pair is as it was
    CHECK_EQ(crt_try_read(b, &c, 1), 1);
    crt_close(&a);
    crt_close(&b);
    crt_stream_close(NULL);
    CHECK_EQ(fd_count_now(), before);
}
BODY(connects)
{
    POLLS;
    crt_stream *st = NULL;
    crt_addr out[2];
    crt_connect_desc d;
    int before = fd_count_now();
    char host[600];
    memset(host, 'a', sizeof host);
    memcpy(host + sizeof host - 4, ":80", 4);
    REFUSED(CRT_EINVAL, crt_tcp_connect(cx, "nowhere", &st));
    REFUSED(CRT_EINVAL, crt_tcp_connect(cx, host, &st));
    REFUSED(CRT_EINVAL, crt_resolve(cx, host, out, 2));
    REFUSED(CRT_EINVAL, crt_resolve(cx, NULL, out, 2));
    REFUSED(CRT_EINVAL, crt_resolve(cx, "127.0.0.1:65536", out, 2));
    d = (crt_connect_desc){.keepalive = {.on = true, .idle = -1}};
    REFUSED(CRT_EINVAL, crt_tcp_connect_ex(cx, "127.0.0.1:1", &d, &st));
    d = (crt_connect_desc){.keepalive = {.on = true, .interval = -1}};
    REFUSED(CRT_EINVAL, crt_tcp_connect_ex(cx, "127.0.0.1:1", &d, &st));
    d = (crt_connect_desc){.keepalive = {.on = true, .count = -1}};
    REFUSED(CRT_EINVAL, crt_tcp_connect_ex(cx, "127.0.0.1:1", &d, &st));
    d = (crt_connect_desc){.attempt_delay = -1};
    REFUSED(CRT_EINVAL, crt_tcp_connect_ex(cx, "127.0.0.1:1", &d, &st));
    d = (crt_connect_desc){.tos = 256};
    REFUSED(CRT_EINVAL, crt_tcp_connect_ex(cx, "127.0.0.1:1", &d, &st));
    REFUSED(CRT_EINVAL, crt_unix_connect(cx, "", &st));
#ifndef _WIN32   // wine has no Unix sockets at all
    REFUSED(-ENOENT, crt_unix_connect(cx, "/tmp/crt-misuse/not/there", &st));
#endif
    UNWOUND(crt_unix_connect(cx, "@crt-misuse", &st));
    UNWOUND(crt_tcp_connect(cx, "127.0.0.1:1", &st));
    CHECK(!st);
    CHECK_EQ(fd_count_now(), before);
}
BODY(datagrams)
{
    POLLS;
    crt_udp *u = NULL, *peer = NULL;
    crt_addr to, unix_name, longer;
    crt_udp_desc d;
    crt_udp_msg m = {0};
    char c = 'x';
    int before = fd_count_now();
    REFUSED(CRT_EINVAL, crt_udp_bind(cx, "127.0.0.1", &u));
    d = (crt_udp_desc){.multicast_ttl = 256};
    REFUSED(CRT_EINVAL, crt_udp_bind_ex(cx, "127.0.0.1:0", &d, &u));
    d = (crt_udp_desc){.ttl = -1};
    REFUSED(CRT_EINVAL, crt_udp_bind_ex(cx, "127.0.0.1:0", &d, &u));
    REFUSED(CRT_EINVAL, crt_unix_dgram_bind(cx, NULL, &d, &u));
    REFUSED(CRT_EINVAL, crt_unix_dgram_bind(cx, "", NULL, &u));
    REFUSED(CRT_EINVAL, crt_unix_dgram_connect(cx, "", &u));
#ifndef _WIN32   // wine has no Unix sockets at all
    REFUSED(-ENOENT, crt_unix_dgram_connect(cx, "/tmp/crt-misuse/not/there", &u));
#endif
    UNWOUND(crt_udp_bind(cx, "127.0.0.1:0", &u));
    UNWOUND(crt_unix_dgram_bind(cx, NULL, NULL, &u));
    UNWOUND(crt_unix_dgram_connect(cx, "@crt-misuse", &u));
    CHECK(!u);
    CHECK_EQ(AT(s[2], crt_udp_bind(cx, "127.0.0.1:0", &u)), 0);
    CHECK_EQ(crt_udp_local_addr(u, &to), 0);
    longer = to;
    longer.len = 4096;
    REFUSED(CRT_EINVAL, crt_udp_connect(cx, NULL, &to));
    REFUSED(CRT_EINVAL, crt_udp_connect(cx, u, NULL));
    UNWOUND(crt_udp_connect(cx, u, &to));
#ifndef WINE   // which connects to the first part of it
    REFUSED(-EINVAL, crt_udp_connect(cx, u, &longer));
#endif
    CHECK_EQ(crt_udp_disconnect(NULL), CRT_EINVAL);
    REFUSED(CRT_EINVAL, crt_udp_recv(cx, NULL, &c, 1));
    REFUSED(CRT_EINVAL, crt_udp_send_to(cx, NULL, &c, 1, &to));
    REFUSED(CRT_EINVAL, crt_udp_recv_many(cx, u, NULL, 1));
    CHECK_EQ(crt_udp_try_recv_from(NULL, &c, 1, NULL), CRT_EINVAL);
    CHECK_EQ(crt_udp_try_recv_from(u, NULL, 1, NULL), CRT_EINVAL);
    CHECK_EQ(crt_udp_try_send_to(NULL, &c, 1, &to), CRT_EINVAL);
    CHECK_EQ(crt_udp_try_send_many(NULL, &m, 1), CRT_EINVAL);
    CHECK_EQ(crt_udp_set_multicast_ttl(u, -1), CRT_EINVAL);
    CHECK_EQ(crt_udp_set_multicast_ttl(u, 256), CRT_EINVAL);
    CHECK_EQ(crt_udp_join(NULL, &to, 0), CRT_EINVAL);
    CHECK_EQ(crt_udp_join(u, NULL, 0), CRT_EINVAL);
    CHECK_EQ(crt_udp_join(u, &longer, 0), CRT_EINVAL);
    CHECK_EQ(crt_addr_unix(UNIX_NAME "crt-misuse", &unix_name), 0);
    CHECK_EQ(crt_udp_join(u, &unix_name, 0), CRT_EINVAL);
    CHECK_EQ(crt_udp_leave(u, &to, 0) < 0, true);   // no group at all
    REFUSED(1, crt_udp_send_to(cx, u, &c, 1, &to));   // it still works
    crt_udp_close(&u);
    crt_udp_close(&u);
    (void)peer;
    CHECK_EQ(fd_count_now(), before);
}
BODY(descriptors)
{
    POLLS;
    crt_stream *st = NULL;
    crt_listener *l = NULL;
    crt_udp *u = NULL;
    int before = fd_count_now(), pair[2], tcp;
#ifndef _WIN32   // only sockets are descriptors there
    int fd, file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
#endif
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | TEST_CLOEXEC, 0, pair), 0);
    tcp = socket(AF_INET, SOCK_STREAM | TEST_CLOEXEC, 0);
    CHECK_EQ(crt_stream_from_fd(cx, -1, CRT_FD_OWN, &st), CRT_EINVAL);
#if INTPTR_MAX > INT_MAX
    CHECK_EQ(crt_stream_from_fd(cx, (intptr_t)INT_MAX + 1, CRT_FD_OWN, &st), CRT_EINVAL);
    REFUSED(-EBADF, crt_fd_readable(cx, (intptr_t)INT_MAX + 1));
#endif
    CHECK_EQ(crt_stream_from_fd(cx, pair[0], 2, &st), CRT_EINVAL);
#ifdef _WIN32
    CHECK_EQ(crt_stream_from_fd(cx, 1 << 20, CRT_FD_OWN, &st), -ENOTSOCK);
#else
    CHECK_EQ(crt_stream_from_fd(cx, 1 << 20, CRT_FD_OWN, &st), -EBADF);
    CHECK_EQ(crt_stream_from_fd(cx, file, CRT_FD_OWN, &st), -EPERM);
#endif
    CHECK_EQ(crt_listener_from_fd(cx, pair[0], CRT_FD_OWN, &l), -EPROTOTYPE);
    CHECK_EQ(crt_udp_from_fd(cx, pair[0], CRT_FD_DUP, &u), -EPROTOTYPE);
    CHECK_EQ(crt_stream_into_fd(&st), CRT_EINVAL);
    CHECK_EQ(crt_stream_into_fd(NULL), CRT_EINVAL);
    CHECK(!st && !l && !u);
#ifdef F_GETFL
    CHECK_EQ(fcntl(pair[0], F_GETFL) & O_NONBLOCK, 0);   // what was refused is as it was
#endif
    // Of the families, too: a listener of a Unix socket, its datagrams.
    struct sockaddr_in any = {.sin_family = AF_INET};
    CHECK_EQ(bind(tcp, (struct sockaddr *)(void *)&any, sizeof any), 0);
    CHECK_EQ(listen(tcp, 1), 0);
    CHECK_EQ(crt_listener_from_fd(cx, tcp, CRT_FD_OWN, &l), 0);
    crt_close(&l);
    close(pair[0]);
    close(pair[1]);
#ifndef _WIN32
    CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM | TEST_CLOEXEC, 0, pair), 0);
    CHECK_EQ(crt_udp_from_fd(cx, pair[0], CRT_FD_OWN, &u), 0);
    CHECK_EQ(crt_udp_into_fd(&u), pair[0]);
    close(pair[0]);
    close(pair[1]);
    fd = socket(AF_UNIX, SOCK_STREAM | TEST_CLOEXEC, 0);
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0crt-misuse-listens"};
    CHECK_EQ(bind(fd, (struct sockaddr *)(void *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 19)), 0);
    CHECK_EQ(listen(fd, 1), 0);
    CHECK_EQ(crt_listener_from_fd(cx, fd, CRT_FD_OWN, &l), 0);
    CHECK_EQ(crt_listener_into_fd(&l), fd);
    close(fd);
    REFUSED(-EBADF, crt_fd_readable(cx, 1 << 20));
    REFUSED(-EPERM, crt_fd_readable(cx, file));
    close(file);
#endif
    REFUSED(-EBADF, crt_fd_readable(cx, -1));
    REFUSED(CRT_EINVAL, crt_fd_ready(cx, 0, 32));
    // A wait that goes on with reasons that make no sense ends, and leaves nothing.
    CHECK_EQ(test_pipe(pair), 0);
    CHECK_EQ(AT(s[3], crt_fd_ready(cx, pair[0], CRT_FD_READ)), CRT_PENDING);
    CHECK_EQ(AT(s[3], crt_fd_ready(cx, pair[0], 32)), CRT_EINVAL);
    CHECK(!s[3].op);
    close(pair[0]);
#ifndef _WIN32   // a pair of sockets stands in for the pipe: closing one side is no error yet
    CHECK_EQ(AT(s[3], crt_fd_ready(cx, pair[1], CRT_FD_WRITE)) & CRT_FD_ERROR, CRT_FD_ERROR);   // nobody reads it
    close(pair[1]);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | TEST_CLOEXEC, 0, pair), 0);
    close(pair[0]);
    CHECK_EQ(AT(s[3], crt_fd_ready(cx, pair[1], CRT_FD_READ)) & CRT_FD_HANGUP, CRT_FD_HANGUP);
#endif
    close(pair[1]);
    CHECK_EQ(fd_count_now(), before);
}
static void addresses(void)
{
    crt_addr a, b;
    size_t n = 0;
    CHECK_EQ(crt_addr_parse("", &a), CRT_EINVAL);
    CHECK_EQ(crt_addr_parse("[]:1", &a), CRT_EINVAL);
    CHECK_EQ(crt_addr_parse("[::1", &a), CRT_EINVAL);
    CHECK_EQ(crt_addr_parse("[fe80::1%4294967296]:1", &a), CRT_EINVAL);
    CHECK_EQ(crt_addr_parse("[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001]:1", &a), CRT_EINVAL);
    // Equal are the same address, scope and port of the same family; not the same bytes.
    CHECK_EQ(crt_addr_parse("127.0.0.1:80", &a), 0);
    CHECK_EQ(crt_addr_parse("[::1]:80", &b), 0);
    CHECK(!crt_addr_equal(&a, &b));
    CHECK_EQ(crt_addr_parse("[::2]:80", &a), 0);
    CHECK(!crt_addr_equal(&a, &b));
    CHECK_EQ(crt_addr_parse("[fe80::1%2]:80", &a), 0);
    CHECK_EQ(crt_addr_parse("[fe80::1%3]:80", &b), 0);
    CHECK(!crt_addr_equal(&a, &b));
    b = a;
    CHECK(crt_addr_equal(&a, &b));
    CHECK_EQ(crt_addr_unix(UNIX_NAME "one", &a), 0);
    CHECK(!crt_addr_equal(&a, &b));
    CHECK_EQ(crt_addr_unix(UNIX_NAME "one", &b), 0);
    CHECK(crt_addr_equal(&a, &b));
    CHECK_EQ(crt_addr_unix(UNIX_NAME "two", &b), 0);
    CHECK(!crt_addr_equal(&a, &b));
    CHECK_EQ(crt_addr_unix("/one", &b), 0);
    CHECK(!crt_addr_equal(&a, &b));
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    CHECK(crt_addr_equal(&a, &b));
    CHECK(crt_addr_sockaddr(&a, NULL) != NULL);
    CHECK(crt_addr_sockaddr(&a, &n) != NULL);
    CHECK_EQ(n, 0);
    CHECK_EQ(crt_addr_from_sockaddr(&a, NULL, 16), CRT_EINVAL);
    CHECK_EQ(crt_addr_from_sockaddr(&a, &b, 4096), CRT_EINVAL);
}

// ---- streams ---------------------------------------------------------------

BODY(stream_tools)
{
    POLLS;
    crt_stream *a, *b, *st = NULL;
    crt_reader r;
    crt_writer w;
    crt_copier one = {0};
    crt_copier_pair two = {0};
    crt_bytes bytes = {0};
    crt_framed f;
    char buf[8], *line;
    void *frame;
    const crt_mock_step no_bytes[] = {crt_mock_read("", 0)}, no_error[] = {crt_mock_read_error(1)}, no_wait[] = {crt_mock_wait(-1)};
    CHECK_EQ(crt_duplex(cx, 16, &a, &b), 0);
    crt_reader_init(&r, a, NULL, 0);
    REFUSED(CRT_EINVAL, crt_framed_read(cx, &r, &(crt_framed){.length_field_length = 9}, &frame));
    REFUSED(CRT_EINVAL, crt_framed_read(cx, &r, &(crt_framed){.length_field_offset = 65}, &frame));
    f = (crt_framed){.length_adjustment = (int64_t)INT32_MAX + 1};
    REFUSED(CRT_EINVAL, crt_framed_read(cx, &r, &f, &frame));
    f = (crt_framed){.length_adjustment = -(int64_t)INT32_MAX - 1};
    REFUSED(CRT_EINVAL, crt_framed_read(cx, &r, &f, &frame));
    crt_reader_drop(&r);
    memset(&r, 0, sizeof r);   // never set up
    REFUSED(CRT_EINVAL, crt_reader_fill(cx, &r, 1));
    REFUSED(CRT_EINVAL, crt_reader_read_line(cx, &r, 0, &line));
    crt_reader_init(&r, a, buf, 0);   // a buffer without room is the caller's mistake
    CHECK(AT(s[1], crt_reader_read_line(cx, &r, 0, &line)) < 0);
    crt_reader_drop(&r);
    memset(&w, 0, sizeof w);
    REFUSED(CRT_EINVAL, crt_writer_flush(cx, &w));
    crt_writer_init(&w, a, buf, 0);
    REFUSED(CRT_EINVAL, crt_writer_write_all(cx, &w, "abc", 3));
    crt_writer_drop(&w);
    crt_writer_init(&w, a, NULL, 0);   // of the usual size, then, and its own
    CHECK_EQ(AT(s[1], crt_writer_write_all(cx, &w, "abc", 3)), 3);
    CHECK_EQ(crt_try_read(b, buf, 8), CRT_EAGAIN);   // kept until it is flushed
    CHECK_EQ(AT(s[1], crt_writer_flush(cx, &w)), 0);
    CHECK_EQ(crt_try_read(b, buf, 8), 3);
    crt_writer_drop(&w);
    REFUSED(CRT_EINVAL, crt_copy(cx, &one, NULL, a));
    REFUSED(CRT_EINVAL, crt_copy(cx, &one, a, NULL));
    REFUSED(CRT_EINVAL, crt_copy_bidirectional(cx, &two, a, NULL));
    REFUSED(CRT_EINVAL, crt_copy_bidirectional(cx, &two, NULL, a));
    REFUSED(CRT_EINVAL, crt_read_to_end(cx, NULL, &bytes, 10));
    crt_bytes_drop(&bytes);
    CHECK_EQ(crt_mock_left(NULL), CRT_EINVAL);
    CHECK_EQ(crt_mock_left(a), CRT_EINVAL);
    CHECK_EQ(crt_mock_new(cx, NULL, no_bytes, 1, &st), CRT_EINVAL);
    CHECK_EQ(crt_mock_new(cx, NULL, no_error, 1, &st), CRT_EINVAL);
    CHECK_EQ(crt_mock_new(cx, NULL, no_wait, 1, &st), CRT_EINVAL);
    CHECK(!st);
    CHECK_EQ(crt_duplex(cx, 0, &st, &st), CRT_EINVAL);
    crt_close(&a);
    crt_close(&b);
    int before = fd_count_now();
    CHECK_EQ(crt_stream_pair(cx, &a, &b), 0);
    CHECK_EQ(crt_mock_left(a), CRT_EINVAL);
    REFUSED(0, crt_flush(cx, a));
    crt_close(&a);
    crt_close(&b);
    CHECK_EQ(fd_count_now(), before);
}

// ---- files -----------------------------------------------------------------

BODY(files)
{
    POLLS;
    crt_file *f = NULL;
    crt_dir *d = NULL;
    crt_fs_stat st;
    crt_fs_dirent e;
    const crt_fs_open_desc none = {0};
    char *text = NULL;
    void *data = NULL;
    size_t n = 0;
    int before = fd_count_now();
    REFUSED(CRT_EINVAL, crt_fs_open(cx, NULL, NULL, &f));
    REFUSED(CRT_EINVAL, crt_fs_open(cx, "/tmp", &none, &f));
    REFUSED(CRT_EINVAL, crt_fs_metadata(cx, NULL, &st));
    REFUSED(CRT_EINVAL, crt_fs_metadata(cx, "/tmp", NULL));
    REFUSED(CRT_EINVAL, crt_fs_write_file(cx, NULL, "x", 1));
    REFUSED(CRT_EINVAL, crt_fs_write_file(cx, "/tmp/crt-misuse", NULL, 1));
    REFUSED(CRT_ENOMEM, crt_fs_write_file(cx, "/tmp/crt-misuse", "x", SIZE_MAX));
    REFUSED(CRT_EINVAL, crt_fs_read_file(cx, NULL, &data, &n));
    REFUSED(CRT_EINVAL, crt_fs_rename(cx, "/tmp/crt-misuse", NULL));
    REFUSED(CRT_EINVAL, crt_fs_read_link(cx, NULL, &text));
    REFUSED(CRT_EINVAL, crt_file_read(cx, NULL, &n, 1));
    REFUSED(CRT_EINVAL, crt_file_metadata(cx, NULL, &st));
    REFUSED(CRT_EINVAL, crt_file_sync(cx, NULL));
    REFUSED(CRT_EINVAL, crt_file_seek(cx, NULL, 0, CRT_SEEK_SET, NULL));
    REFUSED(CRT_EINVAL, crt_dir_next(cx, NULL, &e));
    REFUSED(CRT_EINVAL, crt_fs_read_dir(cx, NULL, &d));
    CHECK_EQ(crt_file_fd(NULL), CRT_EINVAL);
    crt_close(&f);
    crt_close(&d);
    crt_file_close(NULL);
    crt_dir_close(NULL);
    crt_free(NULL);
    CHECK(!f && !d && !data && !text);
    CHECK_EQ(fd_count_now(), before);
}

// ---- processes, signals ----------------------------------------------------

BODY(processes)
{
    POLLS;
    crt_process *p = NULL;
    static const char *const argv[] = TRUE_ARGV, *const empty[] = {NULL};
    crt_process_fd fds[2] = {{0, -1, 0}, {0, 256, 0}};
    crt_process_desc d = {0};
    crt_output o = {0};
    REFUSED(CRT_EINVAL, crt_process_spawn(cx, &d, &p));
    d.argv = empty;
    REFUSED(CRT_EINVAL, crt_process_spawn(cx, &d, &p));
    d.argv = argv;
    d.fd_count = 65;
    d.fds = fds;
#ifdef _WIN32
    REFUSED(-ENOTSUP, crt_process_spawn(cx, &d, &p));
#else
    REFUSED(CRT_EINVAL, crt_process_spawn(cx, &d, &p));
#endif
#ifndef _WIN32   // a child has three handles there: -ENOTSUP
    d.fd_count = 1;
    d.fds = NULL;
    REFUSED(CRT_EINVAL, crt_process_spawn(cx, &d, &p));
    for (int i = 0; i < 2; i++) {
        d.fds = &fds[i];
        REFUSED(CRT_EINVAL, crt_process_spawn(cx, &d, &p));
    }
    fds[0] = (crt_process_fd){1 << 20, 5, 0};
    d.fds = fds;
    CHECK(AT(s[1], crt_process_spawn(cx, &d, &p)) < 0);
#endif
    d.fd_count = 0;
    d.in = (crt_stdio){.kind = 6};
    REFUSED(CRT_EINVAL, crt_process_spawn(cx, &d, &p));
    d.in = (crt_stdio){.kind = CRT_STDIO_FD, .fd = INTPTR_MAX};
    CHECK(AT(s[1], crt_process_spawn(cx, &d, &p)) < 0);
    REFUSED(CRT_EINVAL, crt_process_output(cx, NULL, &o));
    REFUSED(CRT_EINVAL, crt_process_output(cx, &d, NULL));
    REFUSED(CRT_EINVAL, crt_process_wait(cx, NULL, NULL));
    CHECK_EQ(crt_process_try_wait(NULL, NULL), CRT_EINVAL);
    CHECK_EQ(crt_process_kill(NULL), CRT_EINVAL);
    CHECK_EQ(crt_process_signal(NULL, SIGTERM), CRT_EINVAL);
    CHECK_EQ(crt_process_signal_group(NULL, SIGTERM), CRT_EINVAL);
    CHECK_EQ(crt_process_id(NULL), 0);
    CHECK(crt_process_take_stdin(NULL) == NULL);
    crt_process_close(&p);
    crt_process_close(NULL);
    CHECK(!p);
    REFUSED(CRT_EINVAL, crt_signal_recv(cx, SIGKILL));
    REFUSED(CRT_EINVAL, crt_signal_recv(cx, 0));
    REFUSED(CRT_EINVAL, crt_signal_recv(cx, 1 << 20));
}
typedef struct ended {
    crt_frame co;
    crt_process *p;
    crt_poll r;
} ended;
static crt_poll ended_run(void *frame, crt_cx *cx)
{
    static const char *const argv[] = TRUE_ARGV;
    static const crt_process_desc d = {.argv = argv, .group = CRT_PROCESS_NEW_GROUP};
    ended *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_process_spawn(cx, &d, &self->p));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_process_wait(cx, self->p, NULL));
    CHECK_EQ(self->r, 0);
    // Its number may be another's by now: nobody is hit.
    CHECK_EQ(crt_process_kill(self->p), -ESRCH);
    CHECK_EQ(crt_process_signal_group(self->p, SIGKILL), -ESRCH);
    CHECK_EQ(crt_process_id(self->p), 0);
    CRT_FINALLY
        crt_process_close(&self->p);
    CRT_END;
}
static void ended_processes(crt_runtime *rt)
{
    CHECK_EQ(crt_block_on(rt, ended_run, &(ended){.p = NULL}), 0);
}

// ---- tasks, groups, sight --------------------------------------------------

static crt_runtime *other;
BODY(tasks_wrong)
{
    POLLS;
    static CRT_TASK_STORAGE(unit) memory;
    unit frame = {0};
    crt_join_handle *join = NULL;
    crt_abort_handle *none = NULL;
    crt_task_desc d = {.fn = unit_run, .frame = &frame, .size = sizeof frame, .join = &join};
    int unset;
    // Whatever it held before, a handle that was not given is NULL.
    join = (crt_join_handle *)(void *)&unset;
    CHECK_EQ(crt__spawn_in(cx, NULL, 0, &join, unit_run, &frame, sizeof frame, NULL), CRT_EINVAL);
    CHECK(!join);
    join = (crt_join_handle *)(void *)&unset;
    CHECK_EQ(crt_handle_spawn_join(NULL, &join, unit_run, &frame), CRT_EINVAL);
    CHECK(!join);
    join = (crt_join_handle *)(void *)&unset;
    CHECK_EQ(crt_handle_spawn_blocking(NULL, &join, nothing, NULL), CRT_EINVAL);
    CHECK(!join);
    join = (crt_join_handle *)(void *)&unset;
    CHECK_EQ(crt_spawn_join(cx, &join, (crt_fn)NULL, &frame), CRT_EINVAL);
    CHECK(!join);
    CHECK_EQ(crt__spawn_in(cx, (char *)&memory + 1, sizeof memory - 1, &join, unit_run, &frame, sizeof frame, NULL), CRT_EINVAL);
    CHECK_EQ(crt__spawn_in(cx, &memory, 8, &join, unit_run, &frame, sizeof frame, NULL), CRT_EINVAL);
    CHECK(!join);
    CHECK_EQ(crt__spawn(cx, &join, unit_run, &frame, UINT32_MAX, NULL), CRT_EINVAL);   // larger than any frame
    CHECK(!join);
    CHECK_EQ(crt_handle_spawn(NULL, unit_run, &frame), CRT_EINVAL);
    CHECK_EQ(crt_handle_spawn_blocking(NULL, NULL, nothing, NULL), CRT_EINVAL);
    CHECK_EQ(crt_spawn_blocking(cx, NULL, NULL, NULL), CRT_EINVAL);
    REFUSED(CRT_EINVAL, crt_join(cx, &join, NULL));
    CHECK_EQ(crt_join_blocking(&join, NULL), CRT_EINVAL);
    CHECK(crt_is_finished(NULL));
    CHECK(crt_join_panic_message(NULL) == NULL);
    CHECK_EQ(crt_join_id(NULL), 0);
    crt_abort(NULL);
    crt_detach(NULL);
    crt_detach(&join);
    CHECK(crt_abort_handle_clone(NULL) == NULL);
    CHECK(crt_abort_handle_is_finished(NULL));
    crt_abort_handle_abort(NULL);
    crt_abort_handle_drop(&none);
    crt_abort_handle_drop(NULL);
    // A local task is of the caller's runtime; of another, it cannot be asked for.
    d.local = true;
    d.handle = crt_runtime_handle(other);
    CHECK_EQ(crt_spawn_ex(cx, &d), CRT_EINVAL);
    CHECK(!join);
    crt_handle_drop(&d.handle);
    CHECK_EQ(crt_block_on(other, unit_run, &frame), CRT_ENESTED);
    CHECK_EQ(crt_runtime_turn(other, 0), CRT_ENESTED);
    CHECK_EQ(crt_runtime_shutdown(other, 0), CRT_ENESTED);
    CHECK_EQ(crt_runtime_shutdown(other, -1), CRT_EINVAL);
    crt_runtime_drop(&other);   // would wait, and is refused
    CHECK(other != NULL);
}
static void tasks(crt_runtime *rt)
{
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .log.func = test_log}, &other), 0);
    tasks_wrong(rt);
    crt_runtime_drop(&other);
    CHECK(!other);
    crt_runtime_drop(NULL);
}
// Waits that would never end, and a permit that was not got.
BODY(for_ever)
{
    POLLS;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_join_handle *own = (crt_join_handle *)(void *)cx->task;
    int n = 7;
    REFUSED(CRT_EINVAL, crt_join(cx, &own, NULL));
    CHECK_EQ(crt_mpsc_new(sizeof n, 1, &tx, &rx), 0);
    CHECK_EQ(crt_mpsc_send_reserved(tx, &n), CRT_EINVAL);
    CHECK_EQ(crt_mpsc_capacity(tx), 1);
    CHECK_EQ(AT(s[0], crt_mpsc_recv(cx, rx, &n)), CRT_PENDING);
    REFUSED(CRT_EBUSY, crt_mpsc_recv(cx, rx, &n));
    CHECK_EQ(AT(s[0], crt_mpsc_recv(cx, rx, &n)), CRT_PENDING);
    CHECK_EQ(crt_mpsc_try_send(tx, &n), 0);
    CHECK_EQ(AT(s[0], crt_mpsc_recv(cx, rx, &n)), 0);
    CHECK(!s[0].op && !s[1].op);
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
}
// The slot of a wait that was given up by hand, or whose operand moved.
BODY(another_wait_in_its_place)
{
    POLLS;
    crt_notify one = {0}, two = {0};
    test_log_clear();
    CHECK_EQ(AT(s[0], crt_notified(cx, &one)), CRT_PENDING);
    CHECK_EQ(AT(s[0], crt_notified(cx, &two)), CRT_PENDING);
    CHECK(test_log_has("an operand of CRT_AWAIT moved between two polls"));
    crt_notify_one(&one);   // nobody waits there: kept
    CHECK_EQ(AT(s[1], crt_notified(cx, &one)), 0);
    FORGET(s[0]);
}
// An element that is not there is no element: nothing is sent.
BODY(no_element)
{
    POLLS;
    int n = 7, got_n = 0;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_oneshot_tx *otx;
    crt_oneshot_rx *orx;
    crt_broadcast_tx *btx;
    crt_watch_tx *wtx;
    crt_watch_rx *wrx;
    CHECK_EQ(crt_mpsc_new(sizeof n, 2, &tx, &rx), 0);
    CHECK_EQ(crt_mpsc_try_send(tx, NULL), CRT_EINVAL);
    REFUSED(CRT_EINVAL, crt_mpsc_send(cx, tx, NULL));
    CHECK_EQ(AT(s[0], crt_mpsc_reserve(cx, tx)), 0);
    CHECK_EQ(crt_mpsc_send_reserved(tx, NULL), CRT_EINVAL);
    CHECK_EQ(crt_mpsc_send_reserved(tx, &n), 0);
    CHECK_EQ(crt_mpsc_len(rx), 1);
    CHECK_EQ(AT(s[0], crt_mpsc_recv(cx, rx, NULL)), 0);   // taken, and not wanted
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
    CHECK_EQ(crt_oneshot_new(sizeof n, &otx, &orx), 0);
    CHECK_EQ(crt_oneshot_send(&otx, NULL), CRT_EINVAL);
    CHECK(otx != NULL);
    CHECK_EQ(crt_oneshot_send(&otx, &n), 0);
    CHECK(AT(s[0], crt_oneshot_recv(cx, &orx, &got_n)) == 0 && got_n == 7);
    CHECK_EQ(crt_broadcast_new(sizeof n, 2, &btx), 0);
    CHECK_EQ(crt_broadcast_send(btx, NULL), CRT_EINVAL);
    crt_broadcast_tx_drop(&btx);
    CHECK_EQ(crt_watch_new(sizeof n, &n, &wtx, &wrx), 0);
    CHECK_EQ(crt_watch_send(wtx, NULL), CRT_EINVAL);
    CHECK(!crt_watch_has_changed(wrx));
    crt_watch_tx_drop(&wtx);
    crt_watch_rx_drop(&wrx);
}
// Groups, tasks and keys that are not there.
BODY(no_group)
{
    POLLS;
    unit frame = {0};
    crt_join_handle *join = NULL;
    CHECK_EQ(crt_scope_spawn(cx, (crt_scope *)NULL, unit_run, &frame), CRT_EINVAL);
    CHECK_EQ(crt_join_set_spawn(cx, (crt_join_set *)NULL, unit_run, &frame), CRT_EINVAL);
    CHECK_EQ(crt_join_map_spawn(cx, (crt_join_map *)NULL, 1, unit_run, &frame), CRT_EINVAL);
    CHECK_EQ(crt_local_set_spawn(cx, (crt_local_set *)NULL, unit_run, &frame), CRT_EINVAL);
    CHECK_EQ(crt_task_tracker_spawn_join(cx, (crt_task_tracker *)NULL, &join, unit_run, &frame), CRT_EINVAL);
    CHECK(!join);
    CHECK_EQ(crt_task_local_set(cx, NULL, &frame, NULL), CRT_EINVAL);
    CHECK_EQ(crt_spawn(cx, unit_run, NULL), 0);   // a coroutine without variables
    if (crt_runtime_config(cx->rt)->flavor == CRT_MULTI_THREAD) CHECK_EQ(crt_block_in_place(cx, NULL, NULL), CRT_EINVAL);
    (void)s;
}
BODY(two_wait_for_delays)
{
    POLLS;
    crt_delay_queue q = {0};
    crt_delay item = {.deadline = 0}, *due = NULL;
    CHECK_EQ(crt_delay_insert(cx, &q, &item, CRT_SEC(60)), 0);
    CHECK_EQ(AT(s[0], crt_delay_next(cx, &q, &due)), CRT_PENDING);
    REFUSED(CRT_EBUSY, crt_delay_next(cx, &q, &due));
    CHECK_EQ(crt_delay_reset_at(cx, &q, &item, 0), 0);   // long ago
    CHECK_EQ(AT(s[1], crt_delay_next(cx, &q, &due)), CRT_EBUSY);   // the first has been told, and has not looked yet
    CHECK_EQ(AT(s[0], crt_delay_next(cx, &q, &due)), 0);
    CHECK(due == &item);
    CHECK_EQ(AT(s[1], crt_delay_next(cx, &q, &due)), CRT_EEMPTY);
    CHECK(!s[0].op && !s[1].op);
    crt_delay_queue_drop(&q);
}
// A member that waits for its own group.
typedef struct member {
    crt_frame co;
    crt_task_tracker *tracker;
    crt_local_set local;
    crt_timer timer;
    crt_join_handle *join;
    crt_poll r;
} member;
static crt_poll waits_for_its_tracker_run(void *frame, crt_cx *cx)
{
    return crt_task_tracker_wait(cx, *(crt_task_tracker **)frame);
}
static crt_poll waits_for_its_set_run(void *frame, crt_cx *cx) { return crt_local_set_join(cx, *(crt_local_set **)frame); }
static crt_poll own_group_run(void *frame, crt_cx *cx)
{
    member *self = frame;
    CRT_BEGIN(self, cx);
    self->tracker = crt_task_tracker_new();
    crt_task_tracker_leave(self->tracker);   // nobody is in
    CHECK(test_log_has("crt_task_tracker_leave: nobody is in"));
    CHECK_EQ(crt_task_tracker_len(self->tracker), 0);
    CHECK_EQ(crt_task_tracker_spawn_join(cx, self->tracker, &self->join, waits_for_its_tracker_run, &self->tracker), 0);
    crt_task_tracker_close(self->tracker);
    CRT_AWAIT(self->r = crt_task_tracker_wait(cx, self->tracker));
    CHECK_EQ(self->r, 0);
    intptr_t result = 0;
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &result));
    CHECK_EQ(result, CRT_EINVAL);
    crt_local_set *set = &self->local;
    CHECK_EQ(crt_local_set_spawn_join(cx, set, &self->join, waits_for_its_set_run, &set), 0);
    CRT_AWAIT(self->r = crt_local_set_join(cx, &self->local));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &result));
    CHECK_EQ(result, CRT_EINVAL);
    CRT_FINALLY
        crt_task_tracker_drop(&self->tracker);
    CRT_END;
}
static void own_group(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, own_group_run, &(member){.r = 0}), 0); }

// A log that other threads look at.
static const char *listened_for;
static int heard;   // atomic
static void hears(int level, const char *message, void *user)
{
    (void)level, (void)user;
    if (strstr(message, listened_for)) __atomic_store_n(&heard, 1, __ATOMIC_SEQ_CST);
}
static void listen_for(const char *text)
{
    listened_for = text;
    heard = 0;
}
static bool is_heard(void) { return __atomic_load_n(&heard, __ATOMIC_SEQ_CST) != 0; }

// A poll by hand that forgot its waker, and one that did not.
static crt_waker kept;
static int is_kept;   // atomic
static crt_poll forgets_run(void *frame, crt_cx *cx)
{
    (void)frame;
    return crt_take_unwind(cx) ? CRT_UNWIND : CRT_PENDING;
}
static crt_poll remembers_run(void *frame, crt_cx *cx)
{
    int *polls = frame;
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    if ((*polls)++) return 0;
    kept = crt_waker_clone(cx);
    __atomic_store_n(&is_kept, 1, __ATOMIC_RELEASE);
    return CRT_PENDING;
}
static crt_poll wakes_itself_run(void *frame, crt_cx *cx)
{
    int *polls = frame;
    crt_waker own = crt_waker_clone(cx);
    crt_wake(&own);
    return (*polls)++ ? 0 : CRT_PENDING;
}
static crt_poll no_waker_run(void *frame, crt_cx *cx)
{
    member *self = frame;
    CRT_BEGIN(self, cx);
    is_kept = 0;
    CHECK_EQ(crt_spawn_join(cx, &self->join, remembers_run, &(int){0}), 0);
    while (!__atomic_load_n(&is_kept, __ATOMIC_ACQUIRE)) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CRT_AWAIT(crt_sleep(cx, CRT_MS(2)));
    CHECK(!is_heard());
    crt_wake(&kept);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_spawn_join(cx, &self->join, wakes_itself_run, &(int){0}), 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK_EQ(self->r, 0);
    // Nor can anything, but the clock beside it.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(2), forgets_run(NULL, cx)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK(!is_heard());
    CHECK_EQ(crt_spawn_join(cx, &self->join, forgets_run, &(int){0}), 0);
    while (!is_heard()) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    crt_abort(self->join);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK_EQ(self->r, CRT_ECANCELED);
    CRT_END;
}
static void no_waker(crt_runtime *rt)
{
    listen_for("nothing can wake it");
    CHECK_EQ(crt_block_on(rt, no_waker_run, &(member){.r = 0}), 0);
}

// A plain thread joins a task of a runtime that nobody drives, until somebody does.
static void *drives_when_told(void *rt)
{
    while (!is_heard()) crt__nap();
    CHECK_EQ(crt_block_on(rt, unit_run, &(unit){.co = {0}}), 0);
    return NULL;
}
static void nobody_drives(void)
{
    crt_runtime *rt;
    crt_join_handle *join;
    crt__thread driver;
    listen_for("that nobody drives");
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .log.func = hears}, &rt), 0);
    crt_handle *h = crt_runtime_handle(rt);
    CHECK_EQ(crt_handle_spawn_join(h, &join, unit_run, &(unit){.co = {0}}), 0);
    CHECK_EQ(crt__thread_start(&driver, drives_when_told, rt, 0), 0);
    CHECK_EQ(crt_join_blocking(&join, NULL), 0);
    crt__thread_join(driver);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}

// A worker about to sleep has tasks to run: its hook may not block.
static crt_mutex hook_mutex;
static int hook_said;   // atomic
static void locks_in_a_hook(void *unused)
{
    (void)unused;
    __atomic_store_n(&hook_said, crt_mutex_blocking_lock(&hook_mutex), __ATOMIC_SEQ_CST);
}
static crt_poll holds_and_sleeps_run(void *frame, crt_cx *cx)
{
    unit *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_mutex_lock(cx, &hook_mutex));
    CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
    crt_mutex_unlock(&hook_mutex);
    CRT_END;
}
static void hooks(void)
{
    for (int flavor = 0; flavor < 2; flavor++) {
        crt_runtime *rt;
        hook_said = 0;
        CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = flavor, .worker_threads = 1, .on_thread_park = locks_in_a_hook,
                                               .on_thread_unpark = locks_in_a_hook, .log.func = test_log}, &rt), 0);
        CHECK_EQ(crt_block_on(rt, holds_and_sleeps_run, &(unit){.co = {0}}), 0);
        CHECK_EQ(__atomic_load_n(&hook_said, __ATOMIC_SEQ_CST), CRT_ENESTED);
        crt_runtime_drop(&rt);
    }
}
BODY(groups)
{
    POLLS;
    crt_join_set set = {0};
    crt_join_map map = {0};
    crt_task_tracker *t = NULL;
    crt_local_set local = {0};
    intptr_t result = 5;
    uint64_t key = 5;
    CHECK_EQ(crt_join_set_try_next(&set, NULL, NULL), CRT_EEMPTY);
    CHECK_EQ(crt_join_map_try_next(&map, &key, &result), CRT_EEMPTY);
    CHECK(crt_join_set_panic_message(&set) == NULL);
    CHECK(crt_join_map_panic_message(&map) == NULL);
    CHECK(!crt_join_map_abort(&map, 1));
    CHECK(!crt_join_map_contains(&map, 1));
    crt_join_set_abort_all(&set);
    crt_join_set_detach_all(&set);
    crt_join_map_detach_all(&map);
    REFUSED(0, crt_join_set_shutdown(cx, &set));
    REFUSED(0, crt_join_map_shutdown(cx, &map));
    crt_join_set_drop(&set);
    crt_join_map_drop(&map);
    CHECK(crt_task_tracker_clone(NULL) == NULL);
    crt_task_tracker_drop(&t);
    crt_task_tracker_drop(NULL);
    REFUSED(CRT_EINVAL, crt_task_tracker_wait(cx, NULL));
    crt_local_set_abort_all(&local);
    REFUSED(0, crt_local_set_join(cx, &local));
    CHECK_EQ(result, 5);
}
static void sight(crt_runtime *rt)
{
    crt_runtime_metrics m;
    crt_worker_metrics w;
    CHECK_EQ(crt_metrics(NULL, &m), CRT_EINVAL);
    CHECK_EQ(crt_metrics(rt, NULL), CRT_EINVAL);
    CHECK_EQ(crt_metrics_worker(NULL, 0, &w), CRT_EINVAL);
    CHECK_EQ(crt_metrics_worker(rt, 0, NULL), CRT_EINVAL);
    CHECK_EQ(crt_metrics_worker(rt, -1, &w), CRT_EINVAL);
    CHECK_EQ(crt_metrics_worker(rt, 4096, &w), CRT_EINVAL);
    CHECK_EQ(crt_metrics_worker(rt, 0, &w), 0);
    CHECK_EQ(crt_dump(NULL, stderr), CRT_EINVAL);
    CHECK_EQ(crt_dump(rt, NULL), CRT_EINVAL);
    CHECK_EQ(crt_runtime_poll_fd(NULL), CRT_EINVAL);
    CHECK_EQ(crt_runtime_turn(NULL, 0), CRT_EINVAL);
    CHECK_EQ(crt_block_on(NULL, unit_run, &(unit){.co = {0}}), CRT_EINVAL);
    CHECK_EQ(crt_block_on(rt, NULL, NULL), CRT_EINVAL);
    CHECK(strcmp(crt_strerror(-123456), "unknown error") == 0);
    CHECK(crt_err_name(-123456) != NULL);
}

// ---- nowhere to put the result ---------------------------------------------

// A result that is always there has a place to go to: NULL is refused before anything is made.
BODY(no_place)
{
    POLLS;
    crt_stream *a = NULL, *b = NULL;
    crt_listener *l = NULL;
    crt_mpsc_tx *tx = NULL;
    crt_mpsc_rx *rx = NULL;
    crt_broadcast_tx *all = NULL;
    crt_broadcast_rx *mine = (crt_broadcast_rx *)(void *)s;
    crt_watch_tx *watch = NULL;
    crt_watch_rx *seen = NULL;
    crt_process *p = NULL;
    crt_addr addr;
    void *data = NULL;
    size_t n = 0;
    int v = 0, before = fd_count_now();
    static const char *const argv[] = {"true", NULL};
    CHECK_EQ(crt_runtime_new(NULL, NULL), CRT_EINVAL);
    CHECK_EQ(crt_spawn_ex(cx, NULL), CRT_EINVAL);
    REFUSED(CRT_EINVAL, crt_join(cx, NULL, NULL));
    CHECK_EQ(crt_join_blocking(NULL, NULL), CRT_EINVAL);
    CHECK_EQ(crt_mpsc_new(4, 1, NULL, &rx), CRT_EINVAL);
    CHECK_EQ(crt_mpsc_new(4, 1, &tx, NULL), CRT_EINVAL);
    crt_mpsc_tx_drop(NULL);
    crt_mpsc_rx_drop(NULL);
    crt_mpsc_weak_tx_drop(NULL);
    CHECK_EQ(crt_oneshot_new(4, NULL, NULL), CRT_EINVAL);
    CHECK_EQ(crt_oneshot_send(NULL, &v), CRT_EINVAL);
    REFUSED(CRT_EINVAL, crt_oneshot_recv(cx, NULL, &v));
    CHECK_EQ(crt_oneshot_try_recv(NULL, &v), CRT_EINVAL);
    CHECK_EQ(crt_broadcast_new(4, 1, NULL), CRT_EINVAL);
    CHECK_EQ(crt_broadcast_subscribe(NULL, &mine), CRT_EINVAL);
    CHECK(!mine);
    CHECK_EQ(crt_broadcast_resubscribe(NULL, &mine), CRT_EINVAL);
    CHECK_EQ(crt_broadcast_new(4, 1, &all), 0);
    CHECK_EQ(crt_broadcast_subscribe(all, NULL), CRT_EINVAL);
    CHECK_EQ(crt_broadcast_receiver_count(all), 0);
    crt_broadcast_tx_drop(&all);
    CHECK_EQ(crt_watch_new(4, &v, NULL, &seen), CRT_EINVAL);
    CHECK_EQ(crt_watch_new(4, &v, &watch, NULL), CRT_EINVAL);
    CHECK_EQ(crt_watch_subscribe(NULL, &seen), CRT_EINVAL);
    CHECK_EQ(crt_watch_rx_clone(NULL, &seen), CRT_EINVAL);
    REFUSED(CRT_EINVAL, crt_tcp_listen(cx, "127.0.0.1:0", NULL, NULL));
    REFUSED(CRT_EINVAL, crt_unix_listen(cx, "@crt-misuse", NULL, NULL));
    REFUSED(CRT_EINVAL, crt_tcp_connect(cx, "127.0.0.1:1", NULL));
    REFUSED(CRT_EINVAL, crt_unix_connect(cx, "@crt-misuse", NULL));
    CHECK_EQ(AT(s[2], crt_tcp_listen(cx, "127.0.0.1:0", NULL, &l)), 0);
    REFUSED(CRT_EINVAL, crt_accept(cx, l, NULL, NULL));
    CHECK_EQ(crt_try_accept(l, NULL, NULL), CRT_EINVAL);
    CHECK_EQ(crt_local_addr(l, NULL), CRT_EINVAL);
    CHECK_EQ(crt_stream_from_fd(cx, crt_listener_fd(l), CRT_FD_DUP, NULL), CRT_EINVAL);
    crt_close(&l);
    REFUSED(CRT_EINVAL, crt_udp_bind(cx, "127.0.0.1:0", NULL));
    REFUSED(CRT_EINVAL, crt_unix_dgram_bind(cx, NULL, NULL, NULL));
    CHECK_EQ(crt_addr_parse("127.0.0.1:1", NULL), CRT_EINVAL);
    CHECK_EQ(crt_addr_parse(NULL, &addr), CRT_EINVAL);
    CHECK_EQ(crt_stream_pair(cx, &a, NULL), CRT_EINVAL);
    CHECK_EQ(crt_pipe(cx, NULL, &b), CRT_EINVAL);
    CHECK_EQ(crt_duplex(cx, 1, NULL, &b), CRT_EINVAL);
    CHECK_EQ(crt_stdin(cx, NULL), CRT_EINVAL);
    REFUSED(CRT_EINVAL, crt_fs_read_file(cx, "/dev/null", NULL, &n));
    REFUSED(CRT_EINVAL, crt_fs_read_file(cx, "/dev/null", &data, NULL));
    REFUSED(CRT_EINVAL, crt_process_spawn(cx, &(crt_process_desc){.argv = argv}, NULL));
    UNWOUND(crt_accept(cx, NULL, NULL, NULL));
    UNWOUND(crt_tcp_connect(cx, NULL, NULL));
    CHECK(!a && !b && !l && !tx && !rx && !watch && !seen && !p && !data);
    CHECK_EQ(fd_count_now(), before);
}
// What belongs to a runtime that is stepped says so on the other flavour, and looks at nothing that
// the workers of that one use.
static void stepping(crt_runtime *rt)
{
    bool multi = crt_runtime_config(rt)->flavor == CRT_MULTI_THREAD;
    CHECK_EQ(crt_runtime_next_deadline(NULL), CRT_EINVAL);
    for (int i = 0; i < 100; i++) CHECK_EQ(crt_runtime_next_deadline(rt), multi ? CRT_EINVAL : CRT_FOREVER);
    CHECK_EQ(crt_runtime_shutdown(rt, 0), 0);   // its workers may be at their end meanwhile
    for (int i = 0; i < 100; i++) CHECK_EQ(crt_runtime_next_deadline(rt), multi ? CRT_EINVAL : CRT_FOREVER);
    CHECK_EQ(crt_time_pause(NULL), CRT_EINVAL);
    CHECK_EQ(crt_time_resume(NULL), CRT_EINVAL);
    CHECK_EQ(crt_time_advance(NULL, 1), CRT_EINVAL);
    CHECK(crt_runtime_config(NULL) == NULL);
}

// ---- without drivers -------------------------------------------------------

BODY(no_driver)
{
    POLLS;
    crt_stream *a = NULL, *b = NULL;
    crt_listener *l = NULL;
    crt_udp *u = NULL, *v = NULL;
    crt_process *p = NULL;
    crt_timer timer = {0};
    crt_delay_queue q = {0};
    crt_delay d = {0};
    static const char *const argv[] = TRUE_ARGV;
    const crt_process_desc child = {.argv = argv};
    int before = fd_count_now();
    REFUSED(CRT_ENODRIVER, crt_tcp_listen(cx, "127.0.0.1:0", NULL, &l));
    REFUSED(CRT_ENODRIVER, crt_unix_listen(cx, "@crt-misuse", NULL, &l));
    REFUSED(CRT_ENODRIVER, crt_tcp_connect(cx, "127.0.0.1:1", &a));
    REFUSED(CRT_ENODRIVER, crt_unix_connect(cx, "@crt-misuse", &a));
    CHECK_EQ(crt_stream_pair(cx, &a, &b), CRT_ENODRIVER);
    CHECK_EQ(crt_pipe(cx, &a, &b), CRT_ENODRIVER);
    CHECK_EQ(crt_stream_from_fd(cx, 0, CRT_FD_DUP, &a), CRT_ENODRIVER);
    CHECK_EQ(crt_listener_from_fd(cx, 0, CRT_FD_DUP, &l), CRT_ENODRIVER);
    CHECK_EQ(crt_udp_from_fd(cx, 0, CRT_FD_DUP, &u), CRT_ENODRIVER);
    REFUSED(CRT_ENODRIVER, crt_fd_readable(cx, 0));
    REFUSED(CRT_ENODRIVER, crt_udp_bind(cx, "127.0.0.1:0", &u));
    REFUSED(CRT_ENODRIVER, crt_unix_dgram_bind(cx, NULL, NULL, &u));
    REFUSED(CRT_ENODRIVER, crt_unix_dgram_connect(cx, UNIX_NAME "crt-misuse", &u));
    CHECK_EQ(crt_unix_dgram_pair(cx, &u, &v), CRT_ENODRIVER);
    REFUSED(CRT_ENODRIVER, crt_process_spawn(cx, &child, &p));
    REFUSED(CRT_ENODRIVER, crt_signal_recv(cx, SIGUSR1));
    REFUSED(CRT_ENODRIVER, crt_sleep(cx, CRT_MS(1)));
    test_log_clear();
    CHECK_EQ(crt_delay_insert(cx, &q, &d, CRT_MS(1)), CRT_ENODRIVER);
    CHECK(test_log_has("a delay queue needs CRT_DRIVER_TIME"));
    CHECK_EQ(AT(s[2], crt_tcp_connect_ex(cx, "127.0.0.1:1", &(crt_connect_desc){.attempt_timeout = CRT_MS(1)}, &a)), CRT_ENODRIVER);
    if (!crt__is_multi(cx->rt)) {
        CHECK_EQ(crt_runtime_poll_fd(cx->rt), CRT_ENODRIVER);
        CHECK(test_log_has("crt_runtime_poll_fd needs CRT_DRIVER_IO"));
    }
    crt_timer_reset(cx, &timer, CRT_MS(1));
    CHECK(AT(s[1], crt_timer_wait(cx, &timer)) < 0);
    CHECK(!a && !b && !l && !u && !v && !p);
    CHECK(fd_count_now() <= before);   // a thread that ended before may give one back meanwhile
    CHECK(test_log_has("CRT_DRIVER_IO"));
}

typedef struct script {
    crt_frame co;
    crt_stream *st;
    crt_poll r;
    char c;
} script;
static crt_poll script_run(void *frame, crt_cx *cx)
{
    static const crt_mock_step wait[] = {crt_mock_wait(CRT_MS(1)), crt_mock_read("x", 1)};
    script *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_mock_new(cx, NULL, wait, 2, &self->st), 0);   // who reads is told at its first wait
    CRT_AWAIT(self->r = crt_read(cx, self->st, &self->c, 1));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    CRT_FINALLY
        crt_close(&self->st);
    CRT_END;
}
static void no_clock(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, script_run, &(script){.st = NULL}), 0); }

// ---- macros ----------------------------------------------------------------

typedef struct hasty {
    crt_frame co;
    CRT_SELECT(2) sel;
    crt_join_handle *join;
    crt_poll r;
    bool cleaned;
} hasty;
// The value of a call that was not awaited: "wait", with nothing that would wake it.
static crt_poll hasty_run(void *frame, crt_cx *cx)
{
    hasty *self = frame;
    CRT_BEGIN(self, cx);
    CRT_RETURN(crt_sleep(cx, CRT_SEC(3600)));
    CRT_FINALLY
        self->cleaned = true;
        CRT_AWAIT(crt_sleep(cx, CRT_US(1)));
    CRT_END;
}
static crt_poll with_arms_run(void *frame, crt_cx *cx)
{
    static hasty child;
    hasty *self = frame;
    CRT_BEGIN(self, cx);
    child = (hasty){.cleaned = false};
    crt_on(cx, 0, crt_sleep(cx, CRT_SEC(1)));   // of nothing
    CHECK(test_log_has("crt_on(cx, 0, ...) stands outside"));
    CRT_AWAIT(crt_select(cx, &self->sel,
        crt_on(cx, 0, hasty_run(&child, cx)),
        crt_on(cx, 1, crt_sleep(cx, CRT_SEC(60)))));
    CRT_END;
}
static crt_poll macros_run(void *frame, crt_cx *cx)
{
    static hasty alone;
    hasty *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_join(cx, &self->join, hasty_run, &alone), 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK_EQ(self->r, CRT_EPANIC);
    CHECK(strstr(crt_join_panic_message(self->join), "hasty_run): CRT_RETURN(CRT_PENDING)"));
    CHECK(test_log_has("Await the call"));
    crt_detach(&self->join);
    CHECK_EQ(crt_spawn_join(cx, &self->join, with_arms_run, &alone), 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK_EQ(self->r, CRT_EPANIC);
    CHECK(strstr(crt_join_panic_message(self->join), "hasty_run): CRT_RETURN(CRT_PENDING)"));
    CRT_FINALLY
        crt_detach(&self->join);
    CRT_END;
}
static void macros(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, macros_run, &(hasty){.r = 0}), 0); }

// ---- main ------------------------------------------------------------------

static int ends_with;
static crt_poll program_run(void *frame, crt_cx *cx)
{
    char **argv;
    (void)frame;
    (void)cx;
    CHECK_EQ(crt_args(&argv), 2);
    CHECK(strcmp(argv[1], "one") == 0);
    CHECK_EQ(crt_args(NULL), 2);
    return ends_with;
}
static crt_poll failing_run(void *frame, crt_cx *cx)
{
    char **argv;
    (void)frame;
    (void)cx;
    CHECK_EQ(crt_args(&argv), 0);
    return CRT_EINVAL;
}
// The result of a program: what its first task returned, at most 125; 1 after an error.
static void a_program(void)
{
    static char name[] = "prog", one[] = "one", *argv[] = {name, one, NULL};
    const struct { int result, status; } cases[] = {{0, 0}, {7, 7}, {125, 125}, {1000, 125}, {CRT_EINVAL, 1}};
    int quiet = dup(2), to = open(NULL_FILE, O_WRONLY | O_CLOEXEC);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int frame = 0;
        ends_with = cases[i].result;
        dup2(to, 2);   // where the error is named
        int status = crt__main(program_run, &frame, 2, argv);
        dup2(quiet, 2);
        CHECK_EQ(status, cases[i].status);
    }
    dup2(to, 2);
    int without = crt__main(failing_run, &(int){0}, 0, NULL);   // no name to say it by
    dup2(quiet, 2);
    CHECK_EQ(without, 1);
    // A line from a thread that belongs to no runtime goes there, too.
    crt_task_tracker *t = crt_task_tracker_new();
    dup2(to, 2);
    crt_task_tracker_leave(t);
    dup2(quiet, 2);
    CHECK_EQ(crt_task_tracker_len(t), 0);
    crt_task_tracker_drop(&t);
    close(quiet);
    close(to);
}

// ---- CRT_DEBUG: a variable of C where the frame should be, and a frame of another type -----------------------

// Meanwhile another thread changes it, and makes room.
static int changing[16];
static void *changes_it(void *rx)
{
    crt__mpsc *c = (crt__mpsc *)rx;
    int got_it[16];
    for (bool waits = false; !waits; crt__unlock(&c->q.lock)) {
        crt__lock(&c->q.lock);
        waits = c->q.head != NULL;
    }
    memset(changing, 7, sizeof changing);
    CHECK_EQ(crt_mpsc_try_recv(rx, got_it), 0);
    return NULL;
}
// Without a runtime the line goes where lines go by default.
static void what_changes_while_a_thread_is_blocked(void)
{
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    pthread_t thread;
    int quiet = dup(2), to = open("/dev/null", O_WRONLY | O_CLOEXEC);
    CHECK_EQ(crt_mpsc_new(sizeof changing, 1, &tx, &rx), 0);
    CHECK_EQ(crt_mpsc_try_send(tx, changing), 0);
    dup2(to, 2);
    CHECK(!pthread_create(&thread, NULL, changes_it, rx));
    int sent = crt_mpsc_blocking_send(tx, changing);
    pthread_join(thread, NULL);
    dup2(quiet, 2);
    CHECK_EQ(sent, 0);
    close(quiet);
    close(to);
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
}
BODY(what_changes_between_polls)
{
    POLLS;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_stream *a, *b;
    char block[64] = "what is written", got_it[64];
    int x = 1;
    CHECK_EQ(crt_mpsc_new(sizeof x, 1, &tx, &rx), 0);
    CHECK_EQ(AT(s[0], crt_mpsc_send(cx, tx, &x)), 0);
    for (int i = 0; i < 2; i++) CHECK_EQ(AT(s[0], crt_mpsc_send(cx, tx, &x)), PENDING);
    CHECK(!test_log_has("is another at this poll"));
    x = ~x;
    CHECK_EQ(AT(s[0], crt_mpsc_send(cx, tx, &x)), PENDING);
    CHECK(test_log_has("mpsc_send: what it was given is another at this poll"));
    CHECK_EQ(CANCEL(s[0], crt_mpsc_send(cx, tx, &x)), UNWIND);
    crt_mpsc_tx_drop(&tx);
    crt_mpsc_rx_drop(&rx);
    CHECK_EQ(crt_duplex(cx, 16, &a, &b), 0);
    for (int i = 0; i < 2; i++) CHECK_EQ(AT(s[1], crt_write_all(cx, a, block, sizeof block)), PENDING);
    CHECK(!test_log_has("write_all: what"));
    block[0] = 'W';
    CHECK_EQ(AT(s[1], crt_write_all(cx, a, block, sizeof block)), PENDING);
    CHECK(test_log_has("write_all: what it was given is another"));
    CHECK_EQ(CANCEL(s[1], crt_write_all(cx, a, block, sizeof block)), UNWIND);
    for (int i = 0; i < 2; i++) CHECK_EQ(AT(s[2], crt_read_exact(cx, b, got_it, 32)), PENDING);
    CHECK(!test_log_has("read_exact: what"));
    CHECK_EQ(AT(s[2], crt_read_exact(cx, b, got_it + 1, 32)), PENDING);
    CHECK(test_log_has("read_exact: what it was given is another"));
    CHECK_EQ(CANCEL(s[2], crt_read_exact(cx, b, got_it, 32)), UNWIND);
    // A length that is none is refused before it is looked at; what is written once may grow meanwhile.
    CHECK_EQ(AT(s[4], crt_write(cx, a, block, (size_t)-1)), CRT_EINVAL);
    CHECK_EQ(AT(s[4], crt_write_all(cx, a, block, sizeof block)), PENDING);
    CHECK_EQ(CANCEL(s[4], crt_write_all(cx, a, block, sizeof block)), UNWIND);
    test_log_clear();
    for (size_t i = 1; i < 4; i++) CHECK_EQ(AT(s[5], crt_write(cx, a, block, i)), PENDING);
    CHECK(!test_log_has("is another at this poll"));
    CHECK_EQ(CANCEL(s[5], crt_write(cx, a, block, 1)), UNWIND);
    while (crt_try_read(b, got_it, sizeof got_it) > 0) continue;
    for (int i = 0; i < 2; i++) CHECK_EQ(AT(s[3], crt_read(cx, b, got_it + i, 1)), PENDING);   // all at once, at the end
    CHECK(!test_log_has("is another at this poll"));
    CHECK_EQ(CANCEL(s[3], crt_read(cx, b, got_it, 1)), UNWIND);
    crt_close(&a);
    crt_close(&b);
}
typedef struct wide {
    crt_frame co;
    char room[400];
} wide;
static crt_poll wide_run(void *frame, crt_cx *cx)
{
    wide *self = frame;
    CRT_BEGIN(self, cx);
    memset(self->room, 1, sizeof self->room);
    CRT_FINALLY
        memset(self->room, 2, sizeof self->room);
    CRT_END;
}
static crt_poll untyped_run(void *frame, crt_cx *cx)
{
    CRT_BEGIN(frame, cx);
    CRT_END;
}
typedef struct narrow_frames {
    crt_frame co;
    crt_join_handle *join;
    crt_join_set set;
    wide child;
    crt_poll r;
} narrow_frames;
static crt_poll narrow_run(void *frame, crt_cx *cx)
{
    narrow_frames *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_join(cx, &self->join, wide_run, &(unit){0}), 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK_EQ(self->r, CRT_EPANIC);
    CHECK(test_log_has("has a frame of"));
    crt_detach(&self->join);   // which keeps the message
    CHECK_EQ(crt_join_set_spawn(cx, &self->set, wide_run, &(unit){0}), 0);
    CRT_AWAIT(self->r = crt_join_set_next(cx, &self->set, NULL));
    CHECK_EQ(self->r, CRT_EPANIC);
    CHECK_EQ(crt_join_set_spawn(cx, &self->set, wide_run, &(wide){.co = {0}}), 0);
    CRT_AWAIT(self->r = crt_join_set_next(cx, &self->set, NULL));
    CHECK_EQ(self->r, 0);
    crt_join_set_drop(&self->set);
    CHECK_EQ(crt_spawn_join(cx, &self->join, untyped_run, &(unit){0}), 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = wide_run(&self->child, cx));   // no task's own
    CHECK_EQ(self->r, 0);
    CRT_END;
}
static void a_frame_of_another_type(crt_runtime *rt)
{
    CHECK_EQ(crt_block_on(rt, narrow_run, &(narrow_frames){.r = 0}), 0);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST_ON_EACH(listeners);
    TEST_ON_EACH_WITH(streams, .log.func = test_log);
    TEST_ON_EACH(connects);
    TEST_ON_EACH(datagrams);
    TEST_ON_EACH_WITH(descriptors, .log.func = test_log);
    TEST(addresses);
    TEST_ON_EACH_WITH(stream_tools, .log.func = test_log);
    TEST_ON_EACH(files);
    TEST_ON_EACH(processes);
    TEST_ON_EACH(ended_processes);
    TEST_ON_EACH_WITH(tasks, .log.func = test_log);
    TEST_ON_EACH(for_ever);
    TEST_ON_EACH_WITH(another_wait_in_its_place, .log.func = test_log);
    TEST_ON_EACH(no_element);
    TEST_ON_EACH(no_group);
    TEST_ON_EACH(two_wait_for_delays);
    TEST_ON_EACH_WITH(own_group, .log.func = test_log);
    TEST_ON_EACH_WITH(no_waker, .log.func = hears);
    TEST(nobody_drives);
    TEST(hooks);
    TEST_ON_EACH(groups);
    TEST_ON_EACH(sight);
    TEST_ON_EACH(no_place);
    TEST_ON_EACH(stepping);
    TEST_ON_EACH_WITH(no_driver, .drivers = CRT_DRIVER_NONE, .log.func = test_log);
    TEST_ON_EACH_WITH(no_clock, .drivers = CRT_DRIVER_IO, .log.func = test_log);
    TEST_ON_EACH_WITH(macros, .log.func = test_log);
    TEST_ON_EACH_WITH(what_changes_between_polls, .log.func = test_log);
    TEST_ON_EACH_WITH(a_frame_of_another_type, .log.func = test_log);
    TEST(what_changes_while_a_thread_is_blocked);
    TEST(a_program);
    return test_end();
}
