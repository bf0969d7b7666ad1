// tcp_proxy.c: passes TCP connections on, on the loopback interface.
//
//     ./tcp_proxy LISTEN TARGET [connections] [idle seconds]
//     ./tcp_proxy 127.0.0.1:8000 localhost:80
//
// crt_copy_bidirectional does the work: both directions at once, and when one side has
// said all it has to say, the other is told (a half-close) and may still answer. Around
// it are the limits that a proxy needs: so many connections at a time (no more than there
// are descriptors for; others wait in the kernel's queue), a time for connecting, a time
// without a byte either way (0: none; then silent clients may keep all connections for
// ever). A target that is the proxy itself is refused. On Ctrl-C (or SIGTERM) it accepts no more, gives what is
// under way a second, and prints what it did.

#define CRT_IMPLEMENTATION
#include "../crt.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#ifndef _WIN32
#include <sys/resource.h>
#endif

#define CONNECT_TIMEOUT CRT_SEC(5)
#define STOP_TIMEOUT CRT_SEC(1)

static struct {
    const char *target;
    crt_duration idle;
    crt_semaphore slots;
    size_t slot_count;
    atomic_ullong accepted, refused, idled, failed, sent, received;
} app;

// One connection: `near` has come to us, `far` is the target.
typedef struct passage {
    crt_frame co;
    crt_stream *near_end, *far_end;
    crt_copier_pair copy;
    crt_timer timer;
    crt_poll r;
} passage;

static crt_poll passage_run(void *frame, crt_cx *cx)
{
    passage *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CONNECT_TIMEOUT,
        crt_tcp_connect(cx, app.target, &self->far_end)));
    if (self->r < 0) {
        atomic_fetch_add(&app.refused, 1);
        fprintf(stderr, "%s: %s\n", app.target, crt_strerror((int)self->r));
        CRT_RETURN(0);
    }
    self->copy.buffer = 16 * 1024;
    self->copy.idle = app.idle;
    CRT_AWAIT(self->r = crt_copy_bidirectional(cx, &self->copy, self->near_end, self->far_end));
    if (self->r == CRT_ETIMEDOUT) atomic_fetch_add(&app.idled, 1);
    else if (self->r < 0) atomic_fetch_add(&app.failed, 1);
    CRT_RETURN(0);
    CRT_FINALLY   // also when it is cut off: the counts are what has passed until then
        atomic_fetch_add(&app.sent, self->copy.a_to_b);
        atomic_fetch_add(&app.received, self->copy.b_to_a);
        crt_close(&self->near_end);
        crt_close(&self->far_end);
        crt_semaphore_release(&app.slots, 1);
    CRT_END;
}

typedef struct acceptor {
    crt_frame co;
    crt_listener *listener;
    crt_stream *peer;
    bool has_slot;
    crt_poll r;
} acceptor;

static crt_poll acceptor_run(void *frame, crt_cx *cx)
{
    acceptor *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(crt_semaphore_acquire(cx, &app.slots, 1));
        self->has_slot = true;
        CRT_AWAIT(self->r = crt_accept(cx, self->listener, &self->peer, NULL));
        if (self->r == 0) {
            atomic_fetch_add(&app.accepted, 1);
            self->r = crt_spawn(cx, passage_run, &(passage){.near_end = self->peer});
            if (self->r == 0) {   // the slot and the stream are the passage's now
                self->peer = NULL;
                self->has_slot = false;
                continue;
            }
        }
        fprintf(stderr, "accept: %s\n", crt_strerror((int)self->r));
        crt_close(&self->peer);
        crt_semaphore_release(&app.slots, 1);
        self->has_slot = false;
        CRT_AWAIT(crt_sleep(cx, CRT_MS(20)));
    }
    CRT_FINALLY
        crt_close(&self->peer);
        crt_close(&self->listener);
        if (self->has_slot) crt_semaphore_release(&app.slots, 1);
        self->has_slot = false;
    CRT_END;
}

// What a target's address is where it arrives: no IPv4 address in IPv6, and "any address"
// is the loopback one.
static void arrives_at(const crt_addr *a, char *text, size_t n)
{
    char all[80] = "";
    const char *t = all;
    if (crt_addr_format(a, all, sizeof all) < 0) all[0] = '\0';
    char *end = strchr(all, ']');
    if (strncmp(all, "[::ffff:", 8) == 0 && strchr(all, '.') && end) {
        memmove(end, end + 1, strlen(end));
        t += 8;
    }
    if (strncmp(t, "0.0.0.0:", 8) == 0) snprintf(text, n, "127.0.0.1%s", t + 7);
    else if (strncmp(t, "[::]:", 5) == 0) snprintf(text, n, "[::1]%s", t + 4);
    else snprintf(text, n, "%s", t);
}
// Would a connection to the target come to the listener? Each would make another, until all
// are taken. One that listens at any address has the loopback ones; which others the machine
// has is not asked.
static bool is_ourselves(const crt_addr *target, const crt_addr *listener)
{
    char to[80], at[80], bound[80] = "";
    if (crt_addr_port(target) != crt_addr_port(listener)) return false;
    arrives_at(target, to, sizeof to);
    arrives_at(listener, at, sizeof at);
    if (strcmp(to, at) == 0) return true;
    if (crt_addr_format(listener, bound, sizeof bound) < 0) return false;
    const bool any4 = strncmp(bound, "0.0.0.0:", 8) == 0, any6 = strncmp(bound, "[::]:", 5) == 0;   // takes IPv4, too
    return ((any4 || any6) && strncmp(to, "127.", 4) == 0) || (any6 && strncmp(to, "[::1]:", 6) == 0);
}

enum { ADDRESSES = 16 };
typedef struct proxy {
    crt_frame co;
    const char *address;
    acceptor acceptor;
    crt_addr found[ADDRESSES];   // of the target
    CRT_SELECT(3) sel;
    crt_timer timer;
    crt_poll r, which;
} proxy;

static crt_poll proxy_run(void *frame, crt_cx *cx)
{
    proxy *self = frame;
    char text[64] = "?";
    crt_addr local;
    CRT_BEGIN(self, cx);
    // The first call for a signal makes it heard, and is the only one that can fail.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, 0, crt_ctrl_c(cx)));
    if (self->r == CRT_ETIMEDOUT) CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, 0, crt_signal_recv(cx, SIGTERM)));
    if (self->r != CRT_ETIMEDOUT) {
        fprintf(stderr, "signals: %s\n", crt_strerror((int)self->r));
        CRT_RETURN(self->r);
    }
    CRT_AWAIT(self->r = crt_tcp_listen(cx, self->address, NULL, &self->acceptor.listener));   // waits for a name
    if (self->r < 0) {
        fprintf(stderr, "%s: %s\n", self->address, crt_strerror((int)self->r));
        CRT_RETURN(self->r);
    }
    // A target that cannot be found yet may be found later.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CONNECT_TIMEOUT,
        crt_resolve(cx, app.target, self->found, ADDRESSES)));
    if (crt_local_addr(self->acceptor.listener, &local) == 0) crt_addr_format(&local, text, sizeof text);
    else local = (crt_addr){0};
    for (crt_poll i = 0; i < self->r; i++) {
        if (!is_ourselves(&self->found[i], &local)) continue;
        fprintf(stderr, "%s: this is the proxy itself, at %s\n", app.target, text);
        CRT_RETURN(CRT_EINVAL);
    }
    printf("%s -> %s, at most %zu connections; Ctrl-C to stop\n", text, app.target, app.slot_count);
    CRT_AWAIT(self->which = crt_select(cx, &self->sel,
        crt_on(cx, 0, self->r = acceptor_run(&self->acceptor, cx)),
        crt_on(cx, 1, crt_ctrl_c(cx)),
        crt_on(cx, 2, crt_signal_recv(cx, SIGTERM))));
    puts("stopping");
    // All connections have ended when every slot is back.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, STOP_TIMEOUT,
        crt_semaphore_acquire(cx, &app.slots, app.slot_count)));
    CRT_RETURN(0);
    CRT_FINALLY
        crt_close(&self->acceptor.listener);
    CRT_END;
}

// As many connections as were asked for, if there are descriptors: two for each.
static size_t connection_limit(size_t asked)
{
#ifdef _WIN32
    return asked;
#else
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return asked;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return asked;
    const size_t most = limit.rlim_cur < 34 ? 1 : (size_t)(limit.rlim_cur - 32) / 2;
    return asked < most ? asked : most;
#endif
}

// The number that is all of the text, from 0 to max; -1: it is no such number.
static long number(const char *text, long max)
{
    char *end;
    const long n = strtol(text, &end, 10);
    return *text && !*end && n >= 0 && n <= max ? n : -1;
}

// Is it "host:port", a port that can be connected to?
static bool is_target(const char *text)
{
    const char *colon = strrchr(text, ':');
    crt_addr numeric;
    if (!colon || colon == text || colon[1] < '0' || number(colon + 1, 65535) < 1) return false;
    return strchr(text, ':') == colon || crt_addr_parse(text, &numeric) == 0;   // else colons are for numbers
}

int main(int argc, char **argv)
{
    const long most = argc > 3 ? number(argv[3], 1000000) : 1000, idle = argc > 4 ? number(argv[4], 1000000) : 60;
    if (argc < 3 || argc > 5 || most < 1 || idle < 0 || !is_target(argv[2])) {
        fprintf(stderr, "usage: tcp_proxy LISTEN TARGET [connections] [idle seconds]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    app.target = argv[2];
    app.slot_count = connection_limit((size_t)most);
    app.idle = CRT_SEC(idle);
    crt_semaphore_init(&app.slots, app.slot_count);
    crt_runtime *rt;
    int e = crt_runtime_new(NULL, &rt);
    if (e < 0) {
        fprintf(stderr, "runtime: %s\n", crt_strerror(e));
        return 1;
    }
    proxy frame = {.address = argv[1]};
    e = (int)crt_block_on(rt, proxy_run, &frame);
    crt_runtime_drop(&rt);   // cancels what has not ended, and waits for that: the counts are final
    if (e < 0) return 1;   // it has said why; there is nothing to count
    printf("%llu connections: %llu bytes out, %llu back; %llu not connected, %llu idle, %llu broken\n",
           atomic_load(&app.accepted), atomic_load(&app.sent), atomic_load(&app.received),
           atomic_load(&app.refused), atomic_load(&app.idled), atomic_load(&app.failed));
    return 0;
}
