// soak.c - the examples and the toolkit under mixed load, for as long as you like.
//
//     soak MINUTES [DIRECTORY of the examples] [REPORT]        make soak MINUTES=30
//
// The servers among the examples run as processes of their own; two of them are stopped and started again
// now and then, under load. The load comes from a runtime of this program: tasks that connect, ask, check
// every answer, and leave in every way (in order, by a reset, without reading, in the middle of a word,
// aborted); beside them tasks that use channels, timers, files, blocking jobs and child processes. Every
// ROUND seconds that runtime is shut down (in order, or in the middle of everything) and another, of
// another kind, takes its place. The examples that end by themselves are run one after the other.
//
// Between two rounds nothing is under way, and everything must be as it was: this program has no thread,
// no descriptor and no byte of crt's left, and the servers have the descriptors they had at first. Memory
// and threads are compared over time: from the first sixth (at most five minutes) on they must be flat.
// REPORT gets a line for each sample; tests/soak.awk draws the latencies out of it.
#include <stddef.h>
static void *counted_alloc(size_t n);
static void counted_free(void *p);
#define CRT_MALLOC(size) counted_alloc(size)
#define CRT_FREE(pointer) counted_free(pointer)
#define CRT_IMPLEMENTATION
#include "crt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUND = 20, SAMPLE = 5, KEEPERS = 48, QUIET_LIMIT = 8 };
extern char **environ;

static const char *directory = ".build";
static FILE *report;
static double started;
static int failures;
static uint64_t random_state = 88172645463325252u;

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
static uint32_t pick_of(uint64_t *state, uint32_t below)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 33) % below;
}
static uint32_t pick(uint32_t below) { return pick_of(&random_state, below); }   // the main thread's

__attribute__((format(printf, 1, 2))) static void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("FAIL at %.0f s: ", seconds() - started);
    vprintf(format, args);
    printf("\n");
    fflush(stdout);
    va_end(args);
    __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);
}

// ---------------------------------------------------------------------------
// what is counted
// ---------------------------------------------------------------------------

typedef enum kind { ECHO_, ECHO_RESTARTED, PROXY, HTTP, HTTP_RESTARTED, FILES, REDIS, CHAT, TIMERS, TOOLS, KINDS } kind;
static const char *const kind_name[KINDS] = {"echo", "echo (restarted)", "proxy", "http", "http (restarted)", "files",
                                             "redis", "chat", "timers", "tools"};
static bool may_break(kind k) { return k == ECHO_RESTARTED || k == HTTP_RESTARTED; }

// Microseconds, in steps of an eighth.
enum { BUCKETS = 256 };
static uint64_t histogram[KINDS][BUCKETS];   // atomic: since the last sample
static uint64_t sessions[KINDS], errors[KINDS], answers[KINDS], aborts, restarts, programs;   // atomic

static void took(kind k, double from)
{
    const uint64_t us = (uint64_t)((seconds() - from) * 1e6) + 8;
    const int high = 63 - __builtin_clzll(us);
    int b = (high - 3) * 8 + (int)(us >> (high - 3) & 7);
    if (b >= BUCKETS) b = BUCKETS - 1;
    __atomic_fetch_add(&histogram[k][b], 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&answers[k], 1, __ATOMIC_RELAXED);
}
static double bucket_us(int b) { return (double)((8ull + (unsigned)b % 8) << (b / 8)) - 8; }
static double percentile(const uint64_t *h, double share)
{
    uint64_t all = 0, seen = 0;
    for (int b = 0; b < BUCKETS; b++) all += h[b];
    for (int b = 0; b < BUCKETS; b++)
        if ((double)(seen += h[b]) >= share * (double)all && all) return bucket_us(b);
    return 0;
}

// Every byte of crt in this program.
static int64_t live_bytes, live_blocks;   // atomic
static void *counted_alloc(size_t n)
{
    size_t *p = malloc(n + 16);
    if (!p) return NULL;
    *p = n;
    __atomic_fetch_add(&live_bytes, (int64_t)n, __ATOMIC_RELAXED);
    __atomic_fetch_add(&live_blocks, 1, __ATOMIC_RELAXED);
    return (char *)p + 16;
}
static void counted_free(void *p)
{
    if (!p) return;
    size_t *at = (size_t *)(void *)((char *)p - 16);
    __atomic_fetch_sub(&live_bytes, (int64_t)*at, __ATOMIC_RELAXED);
    __atomic_fetch_sub(&live_blocks, 1, __ATOMIC_RELAXED);
    free(at);
}

// ---------------------------------------------------------------------------
// processes
// ---------------------------------------------------------------------------

enum { SAMPLES_MAX = 20000, ARGS = 5 };
typedef struct server {
    const char *name, *args[ARGS];
    bool restarted;
    int kind;           // the load that goes there
    pid_t pid;
    int out;            // its standard output
    uint32_t port;      // atomic
    int fds_at_rest;
    double next_restart;
    int *rss, *threads, samples;   // while quiet
    int heap_first, heap_last;     // this program: bytes that malloc has given out, at the first and last rest
} server;
static char proxy_target[64];
static server servers[] = {
    {.name = "echo_server", .args = {"multi_thread", "0", "2"}, .kind = ECHO_},
    {.name = "echo_server", .args = {"current_thread", "0"}, .kind = ECHO_RESTARTED, .restarted = true},
    {.name = "tcp_proxy", .args = {"127.0.0.1:0", proxy_target}, .kind = PROXY},
    {.name = "http_server", .args = {"0", "2"}, .kind = HTTP},
    {.name = "http_server", .args = {"0", "1", "current_thread"}, .kind = HTTP_RESTARTED, .restarted = true},
    {.name = "static_files", .args = {".", "0"}, .kind = FILES},
    {.name = "mini_redis", .args = {"--port", "0", "--workers", "2"}, .kind = REDIS},
    {.name = "chat", .args = {"0"}, .kind = CHAT},
};
enum { SERVERS = (int)(sizeof servers / sizeof servers[0]) };
static server self_process = {.name = "this program"};

static uint32_t port_of(kind k)
{
    for (int i = 0; i < SERVERS; i++)
        if (servers[i].kind == (int)k) return __atomic_load_n(&servers[i].port, __ATOMIC_ACQUIRE);
    return 0;
}
static pid_t start_process(const char *name, const char *const *args, int *out)
{
    char path[512];
    char *argv[ARGS + 2] = {path};
    int ends[2] = {-1, -1};
    pid_t pid = -1;
    posix_spawn_file_actions_t actions;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    for (int i = 0; args && i < ARGS && args[i]; i++) argv[i + 1] = (char *)args[i];
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (out) {
        if (pipe2(ends, O_CLOEXEC)) return -1;
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    } else {
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    }
    if (posix_spawn(&pid, path, &actions, NULL, argv, environ)) pid = -1;
    posix_spawn_file_actions_destroy(&actions);
    if (out) close(ends[1]), *out = ends[0];
    return pid;
}
// -1: it has not ended in time.
static int end_of(pid_t pid, double limit)
{
    int status;
    for (double until = seconds() + limit; seconds() < until; usleep(20000))
        if (waitpid(pid, &status, WNOHANG) == pid) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return -1;
}

// A number out of /proc/PID/status; the descriptors.
static int status_of(pid_t pid, const char *key)
{
    char path[64], line[256];
    int value = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0) value = atoi(line + strlen(key));
    if (f) fclose(f);
    return value;
}
static int descriptors_of(pid_t pid)
{
    char path[64];
    int n = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *d = opendir(path);
    if (!d) return -1;
    while (readdir(d)) n++;
    closedir(d);
    return n - 2 - (pid == getpid());
}

static bool start_server(server *s)
{
    char line[512];
    size_t n = 0;
    s->pid = start_process(s->name, s->args, &s->out);
    if (s->pid < 0) return fail("%s does not start", s->name), false;
    while (n < sizeof line - 1 && read(s->out, line + n, 1) == 1 && line[n] != '\n') n++;
    line[n] = 0;
    const char *at = strstr(line, "127.0.0.1:");
    if (!at) return fail("%s says \"%s\"", s->name, line), false;
    __atomic_store_n(&s->port, (uint32_t)atoi(at + 10), __ATOMIC_RELEASE);
    usleep(200000);
    if (!s->fds_at_rest) s->fds_at_rest = descriptors_of(s->pid);   // later it is under load from the start
    s->next_restart = seconds() + 20 + pick(40);
    return true;
}
static void stop_server(server *s)
{
    if (s->pid <= 0) return;
    kill(s->pid, SIGINT);
    const int status = end_of(s->pid, 15);
    if (status != 0) fail("%s %s after SIGINT (status %d)", s->name, status < 0 ? "does not end" : "ends badly", status);
    if (status < 0) kill(s->pid, SIGKILL), waitpid(s->pid, NULL, 0);
    close(s->out);
    s->pid = 0;
}

// ---------------------------------------------------------------------------
// the load
// ---------------------------------------------------------------------------

static uint32_t stopping;   // atomic: sessions end, keepers start no others

typedef struct exchange {   // a request, and its answer
    crt_frame co;
    crt_stream *s;
    const char *out;
    size_t n, piece, sent, got, need;   // need 0: what the head of the answer says
    kind kind;
    double begun;
    crt_poll r;
    char in[4096], more[4096];
} exchange;
static crt_poll exchange_run(void *frame, crt_cx *cx)
{
    exchange *self = frame;
    CRT_BEGIN(self, cx);
    self->begun = seconds();
    self->sent = self->got = 0;
    while (self->sent < self->n) {
        CRT_AWAIT(self->r = crt_write(cx, self->s, self->out + self->sent,
                                      self->n - self->sent < self->piece ? self->n - self->sent : self->piece));
        if (self->r <= 0) CRT_RETURN(self->r ? self->r : CRT_EEOF);
        self->sent += (size_t)self->r;
        if (self->sent < self->n) CRT_YIELD();
    }
    while (!self->need || self->got < self->need) {
        CRT_AWAIT(self->r = self->got < sizeof self->in - 1
                                ? crt_read(cx, self->s, self->in + self->got, sizeof self->in - 1 - self->got)
                                : crt_read(cx, self->s, self->more, sizeof self->more));
        if (self->r <= 0) CRT_RETURN(self->r ? self->r : CRT_EEOF);
        if (self->got < sizeof self->in - 1) self->in[self->got + (size_t)self->r] = 0;
        self->got += (size_t)self->r;
        if (!self->need) {
            const char *end = strstr(self->in, "\r\n\r\n"), *length = strstr(self->in, "ontent-");
            if (!end) continue;
            while (length && strncmp(length, "ontent-", 7) == 0 && strncmp(length + 8, "ength: ", 7) != 0)
                length = strstr(length + 1, "ontent-");
            if (!length) CRT_RETURN(CRT_EPROTO);
            self->need = (size_t)(end - self->in) + 4 + strtoul(length + 15, NULL, 10);
        }
    }
    took(self->kind, self->begun);
    CRT_RETURN(0);
    CRT_FINALLY
    CRT_END;
}

typedef struct session {
    crt_frame co;
    kind kind;
    uint64_t rng;
    int id, i, count;
    char address[32], out[2600], expected[2600];
    exchange x;
    crt_poll r;
    crt_timer timer;
    // the toolkit's
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_broadcast_tx *btx;
    crt_broadcast_rx *brx;
    crt_cancel_token *token;
    crt_join_handle *child;
    crt_delay_queue queue;
    crt_delay delay[12], *due;
    CRT_SELECT(3) sel;
    long got, sum;
    intptr_t result;
    double begun;
    crt_process *process;
    void *data;
    size_t size;
} session;

static void ask(session *self, const char *text, size_t n, size_t need)
{
    self->x.out = text;
    self->x.n = n;
    self->x.need = need;
    self->x.piece = pick_of(&self->rng, 8) == 0 ? 1 + pick_of(&self->rng, 16) : n;
}
// Fills `out`, and `expected` as far as it is known.
static void next_request(session *self)
{
    char *o = self->out;
    int n = 0;
    self->expected[0] = 0;
    switch (self->kind) {
    case HTTP: case HTTP_RESTARTED: {
        static const char *const paths[] = {"/", "/stats", "/sleep?ms=3", "/blocking", "/nothing", "/sleep?ms=60"};
        static const char *const status[] = {"200", "200", "200", "200", "404", "200"};
        const uint32_t which = pick_of(&self->rng, 6);
        n = snprintf(o, sizeof self->out, "GET %s HTTP/1.1\r\nHost: soak\r\n\r\n", paths[which]);
        snprintf(self->expected, sizeof self->expected, "HTTP/1.1 %s", status[which]);
        break;
    }
    case FILES: {
        static const char *const paths[] = {"/README.md", "/crt_platform_epoll.h", "/examples/", "/crt.h", "/none"};
        const uint32_t which = pick_of(&self->rng, 5);
        n = snprintf(o, sizeof self->out, "GET %s HTTP/1.1\r\nHost: soak\r\n%s\r\n", paths[which],
                     which == 3 ? "Range: bytes=1000-40000\r\n" : "");
        snprintf(self->expected, sizeof self->expected, "HTTP/1.1 %s", which == 3 ? "206" : which == 4 ? "404" : "200");
        break;
    }
    case REDIS: {
        const size_t value = pick_of(&self->rng, 1200);
        n = snprintf(o, sizeof self->out, "*5\r\n$3\r\nSET\r\n$6\r\nk%05d\r\n$%zu\r\n", self->id, value);
        memset(o + n, 'a' + (int)(value % 26), value);
        n += (int)value;
        n += snprintf(o + n, sizeof self->out - (size_t)n, "\r\n$2\r\nEX\r\n$2\r\n60\r\n*2\r\n$3\r\nGET\r\n$6\r\nk%05d\r\n", self->id);
        size_t at = (size_t)snprintf(self->expected, sizeof self->expected, "+OK\r\n$%zu\r\n", value);
        memset(self->expected + at, 'a' + (int)(value % 26), value);
        memcpy(self->expected + at + value, "\r\n", 3);
        ask(self, o, (size_t)n, strlen(self->expected));
        return;
    }
    default:
        n = 1 + (int)pick_of(&self->rng, 2000);
        for (int i = 0; i < n; i++) o[i] = (char)('A' + (self->id + i * 7 + self->i) % 57);
        memcpy(self->expected, o, (size_t)n);
        self->expected[n] = 0;
        ask(self, o, (size_t)n, (size_t)n);
        return;
    }
    ask(self, o, (size_t)n, 0);
}
static crt_poll visit_run(void *frame, crt_cx *cx)
{
    session *self = frame;
    CRT_BEGIN(self, cx);
    snprintf(self->address, sizeof self->address, "127.0.0.1:%u", port_of(self->kind));
    CRT_AWAIT(self->r = crt_tcp_connect(cx, self->address, &self->x.s));
    if (self->r < 0) CRT_RETURN(self->r);
    self->x.kind = self->kind;
    self->count = 1 + (int)pick_of(&self->rng, 30);
    for (self->i = 0; self->i < self->count && !__atomic_load_n(&stopping, __ATOMIC_RELAXED); self->i++) {
        next_request(self);
        CRT_AWAIT(self->r = exchange_run(&self->x, cx));
        if (self->r < 0) CRT_RETURN(self->r);
        if (strncmp(self->x.in, self->expected, strlen(self->expected)) != 0) {
            fail("%s: a wrong answer: \"%.40s\", not \"%.40s\"", kind_name[self->kind], self->x.in, self->expected);
            CRT_RETURN(CRT_EPROTO);
        }
        if (pick_of(&self->rng, 3) == 0) CRT_AWAIT(crt_sleep(cx, CRT_MS(pick_of(&self->rng, 60))));
    }
    switch (pick_of(&self->rng, 4)) {
    case 0: (void)crt_stream_set_linger(self->x.s, 0); break;   // a reset
    case 1: next_request(self); (void)crt_try_write(self->x.s, self->out, self->x.n); break;   // leaves without the answer
    case 2: next_request(self); (void)crt_try_write(self->x.s, self->out, self->x.n / 2); break;   // in the middle
    default: break;
    }
    CRT_RETURN(0);
    CRT_FINALLY
        crt_close(&self->x.s);
    CRT_END;
}
// Talks, and listens for as long as it takes to hear itself.
static crt_poll chat_run(void *frame, crt_cx *cx)
{
    session *self = frame;
    CRT_BEGIN(self, cx);
    snprintf(self->address, sizeof self->address, "127.0.0.1:%u", port_of(CHAT));
    CRT_AWAIT(self->r = crt_tcp_connect(cx, self->address, &self->x.s));
    if (self->r < 0) CRT_RETURN(self->r);
    self->count = 1 + (int)pick_of(&self->rng, 8);
    for (self->i = 0; self->i <= self->count && !__atomic_load_n(&stopping, __ATOMIC_RELAXED); self->i++) {
        self->begun = seconds();
        snprintf(self->out, sizeof self->out, "%s%d\n", self->i ? "line " : "guest", self->i ? self->i : self->id);
        CRT_AWAIT(self->r = crt_write_all(cx, self->x.s, self->out, strlen(self->out)));
        if (self->r < 0) CRT_RETURN(self->r);
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(1), crt_read(cx, self->x.s, self->x.in, sizeof self->x.in)));
        if (self->r == CRT_ETIMEDOUT) continue;   // nobody else is there
        if (self->r <= 0) CRT_RETURN(self->r ? self->r : CRT_EEOF);
        took(CHAT, self->begun);
        CRT_AWAIT(crt_sleep(cx, CRT_MS(10 + pick_of(&self->rng, 90))));
    }
    if (pick_of(&self->rng, 2)) CRT_AWAIT(self->r = crt_write_all(cx, self->x.s, "/quit\n", 6));
    CRT_RETURN(0);
    CRT_FINALLY
        crt_close(&self->x.s);
    CRT_END;
}
// Sleeps, alone, under time-outs, as losers of selects, and in a delay queue. The latency is the lateness.
static crt_poll timers_run(void *frame, crt_cx *cx)
{
    session *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 12; self->i++)
        if (crt_delay_insert(cx, &self->queue, &self->delay[self->i], CRT_MS(pick_of(&self->rng, 40))) < 0) CRT_RETURN(CRT_ENOMEM);
    for (self->i = 0; self->i < 20 && !__atomic_load_n(&stopping, __ATOMIC_RELAXED); self->i++) {
        self->got = 1 + (long)pick_of(&self->rng, 25);
        self->begun = seconds() + (double)self->got / 1e3;
        CRT_AWAIT(crt_sleep(cx, CRT_MS(self->got)));
        if (seconds() < self->begun - 0.0005) fail("a sleep of %ld ms is %.3f ms early", self->got, (self->begun - seconds()) * 1e3);
        took(TIMERS, self->begun);
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(pick_of(&self->rng, 4)), crt_sleep(cx, CRT_SEC(100))));
        if (self->r != CRT_ETIMEDOUT) fail("a time-out over a long sleep gives %ld", (long)self->r);
        CRT_AWAIT(self->r = crt_select(cx, &self->sel, crt_on(cx, 0, crt_delay_next(cx, &self->queue, &self->due)),
                                       crt_on(cx, 1, crt_sleep(cx, CRT_MS(5))), crt_on(cx, 2, crt_sleep(cx, CRT_SEC(1000)))));
    }
    CRT_RETURN(0);
    CRT_FINALLY
        crt_delay_queue_drop(&self->queue);
    CRT_END;
}

typedef struct producer {
    crt_frame co;
    crt_mpsc_tx *tx;
    crt_broadcast_tx *btx;
    crt_cancel_token *token;
    long i, n;
    crt_poll r;
} producer;
static crt_poll producer_run(void *frame, crt_cx *cx)
{
    producer *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 1; self->i <= self->n; self->i++) {
        CRT_AWAIT(self->r = crt_mpsc_send(cx, self->tx, &self->i));
        if (self->r < 0) CRT_RETURN(self->r);
        (void)crt_broadcast_send(self->btx, &self->i);
    }
    CRT_AWAIT(self->r = crt_cancelled(cx, self->token));
    CRT_RETURN(self->r);
    CRT_FINALLY
        crt_mpsc_tx_drop(&self->tx);
        crt_broadcast_tx_drop(&self->btx);
        crt_cancel_token_drop(&self->token);
    CRT_END;
}
static intptr_t work(void *arg)
{
    usleep(200);
    return (intptr_t)arg + 1;
}
static crt_poll tools_run(void *frame, crt_cx *cx)
{
    static const char *const nothing[] = {"/bin/true", NULL};
    session *self = frame;
    CRT_BEGIN(self, cx);
    self->begun = seconds();
    self->token = crt_cancel_token_new();
    if (!self->token || crt_mpsc_new(sizeof(long), 4, &self->tx, &self->rx) < 0 ||
        crt_broadcast_new(sizeof(long), 8, &self->btx) < 0 || crt_broadcast_subscribe(self->btx, &self->brx) < 0)
        CRT_RETURN(CRT_ENOMEM);
    self->count = 50 + (int)pick_of(&self->rng, 100);
    self->r = crt_spawn_join(cx, &self->child, producer_run, &(producer){.tx = self->tx, .btx = self->btx,
                             .token = crt_cancel_token_child(self->token), .n = self->count});
    if (self->r < 0) CRT_RETURN(self->r);
    self->tx = NULL, self->btx = NULL;   // the producer's
    for (self->i = 0; self->i < self->count; self->i++) {
        CRT_AWAIT(self->r = crt_mpsc_recv(cx, self->rx, &self->got));
        if (self->r < 0) CRT_RETURN(self->r);
        self->sum += self->got;
    }
    if (self->sum != (long)self->count * (self->count + 1) / 2) fail("a channel of %d numbers adds up to %ld", self->count, self->sum);
    do {
        CRT_AWAIT(self->r = crt_broadcast_recv(cx, self->brx, &self->got, NULL));
    } while (self->r == CRT_ELAGGED || (self->r == 0 && self->got < self->count));
    crt_cancel_token_cancel(self->token);
    CRT_AWAIT(self->r = crt_join(cx, &self->child, &self->result));
    if (self->r < 0) CRT_RETURN(self->r);
    self->r = crt_spawn_blocking(cx, &self->child, work, (void *)(intptr_t)self->id);
    if (self->r < 0) CRT_RETURN(self->r);
    CRT_AWAIT(self->r = crt_join(cx, &self->child, &self->result));
    if (self->r != 0 || self->result != self->id + 1) CRT_RETURN(self->r ? self->r : CRT_EPROTO);
    CRT_AWAIT(self->r = crt_fs_read_file(cx, "crt_platform_epoll.h", &self->data, &self->size));
    if (self->r < 0 || self->size < 1000) CRT_RETURN(self->r ? self->r : CRT_EPROTO);
    if (pick_of(&self->rng, 8) == 0) {
        CRT_AWAIT(self->r = crt_process_spawn(cx, &(crt_process_desc){.argv = nothing, .kill_on_drop = true}, &self->process));
        if (self->r < 0) CRT_RETURN(self->r);
        CRT_AWAIT(self->r = crt_process_wait(cx, self->process, NULL));
        if (self->r < 0) CRT_RETURN(self->r);
    }
    took(TOOLS, self->begun);
    CRT_RETURN(0);
    CRT_FINALLY
        if (self->child) crt_abort(self->child);
        crt_detach(&self->child);
        crt_mpsc_tx_drop(&self->tx);
        crt_mpsc_rx_drop(&self->rx);
        crt_broadcast_tx_drop(&self->btx);
        crt_broadcast_rx_drop(&self->brx);
        crt_cancel_token_drop(&self->token);
        crt_close(&self->process);
        crt_free(self->data);
        self->data = NULL;
    CRT_END;
}

// Keeps one session going after the other; some are given up.
typedef struct keeper {
    crt_frame co;
    int id;
    uint64_t rng;
    kind kind;
    crt_join_handle *h;
    crt_timer timer;
    crt_poll r;
    bool short_;
    intptr_t result;
} keeper;
static crt_poll keeper_run(void *frame, crt_cx *cx)
{
    static const crt_fn run[KINDS] = {visit_run, visit_run, visit_run, visit_run, visit_run, visit_run,
                                      visit_run, chat_run, timers_run, tools_run};
    keeper *self = frame;
    CRT_BEGIN(self, cx);
    while (!__atomic_load_n(&stopping, __ATOMIC_RELAXED)) {
        self->kind = (kind)pick_of(&self->rng, KINDS);
        self->short_ = pick_of(&self->rng, 6) == 0;
        self->r = crt_spawn_join(cx, &self->h, run[self->kind], &(session){.kind = self->kind, .id = self->id, .rng = self->rng | 1});
        if (self->r < 0) CRT_RETURN(self->r);
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, self->short_ ? CRT_MS(pick_of(&self->rng, 400)) : CRT_SEC(60),
                                        crt_join(cx, &self->h, &self->result)));
        if (self->r == CRT_ETIMEDOUT) {
            if (!self->short_) fail("%s: a session has not ended after 60 s", kind_name[self->kind]);
            crt_abort(self->h);
            __atomic_fetch_add(&aborts, 1, __ATOMIC_RELAXED);
            CRT_AWAIT(self->r = crt_join(cx, &self->h, &self->result));
        } else {
            __atomic_fetch_add(&sessions[self->kind], 1, __ATOMIC_RELAXED);
            if (self->r < 0 || self->result < 0) {
                if (__atomic_fetch_add(&errors[self->kind], 1, __ATOMIC_RELAXED) < 5 && !may_break(self->kind))
                    printf("%.0f s: %s: %s\n", seconds() - started, kind_name[self->kind],
                           crt_strerror((int)(self->r < 0 ? self->r : self->result)));
                CRT_AWAIT(crt_sleep(cx, CRT_MS(100)));
            }
        }
        if (pick_of(&self->rng, 4) == 0) CRT_AWAIT(crt_sleep(cx, CRT_MS(pick_of(&self->rng, 150))));
    }
    CRT_RETURN(0);
    CRT_FINALLY
        if (self->h) crt_abort(self->h);
        crt_detach(&self->h);
    CRT_END;
}

typedef struct root {
    crt_frame co;
    crt_join_set set;
    int i;
    bool in_order;
    uint64_t seed;
    crt_poll r;
} root;
static crt_poll root_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < KEEPERS; self->i++)
        if (crt_join_set_spawn(cx, &self->set, keeper_run, &(keeper){.id = self->i, .rng = self->seed * 2654435761u + (uint64_t)self->i * 977 + 1}) < 0)
            fail("a keeper cannot be started");
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(ROUND)));
    if (!self->in_order) crt_join_set_detach_all(&self->set);
    else __atomic_store_n(&stopping, 1, __ATOMIC_RELAXED);
    while (crt_join_set_len(&self->set)) CRT_AWAIT(self->r = crt_join_set_next(cx, &self->set, NULL));
    CRT_RETURN(0);
    CRT_FINALLY
        crt_join_set_drop(&self->set);
    CRT_END;
}

// ---------------------------------------------------------------------------
// a round
// ---------------------------------------------------------------------------

typedef struct load {
    crt_runtime *rt;
    root frame;
    uint32_t done;   // atomic
} load;
static void *load_main(void *arg)
{
    load *l = arg;
    const crt_poll r = crt_block_on(l->rt, root_run, &l->frame);
    if (r != 0) fail("the load ends with %s", crt_strerror((int)r));
    __atomic_store_n(&l->done, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void sample_busy(load *l)
{
    crt_runtime_metrics m = {0};
    (void)crt_metrics(l->rt, &m);
    for (int k = 0; k < KINDS; k++) {
        uint64_t h[BUCKETS], n = 0;
        for (int b = 0; b < BUCKETS; b++) n += h[b] = __atomic_exchange_n(&histogram[k][b], 0, __ATOMIC_RELAXED);
        if (n) fprintf(report, "latency\t%.0f\t%s\t%llu\t%.0f\t%.0f\t%.0f\n", seconds() - started, kind_name[k],
                       (unsigned long long)n, percentile(h, 0.5), percentile(h, 0.99), percentile(h, 0.999));
    }
    fprintf(report, "busy\t%.0f\t%llu\t%lld\t%d\n", seconds() - started, (unsigned long long)m.num_alive_tasks,
            (long long)__atomic_load_n(&live_bytes, __ATOMIC_RELAXED), descriptors_of(getpid()));
    fflush(report);
}
static void keep_sample(server *s, pid_t pid)
{
    if (s->samples == SAMPLES_MAX) return;
    if (!s->rss) s->rss = calloc(SAMPLES_MAX, sizeof *s->rss), s->threads = calloc(SAMPLES_MAX, sizeof *s->threads);
    s->rss[s->samples] = status_of(pid, "VmRSS:");
    s->threads[s->samples] = status_of(pid, "Threads:");
    fprintf(report, "quiet\t%.0f\t%s %s\t%d\t%d\t%d\n", seconds() - started, s->name, s->args[0] ? s->args[0] : "", s->rss[s->samples],
            s->threads[s->samples], descriptors_of(pid));
    s->samples++;
}
// Nothing is under way: everything must be as it was at first.
static void sample_quiet(void)
{
    int fds = 0, mine = 0;
    int64_t bytes = 0;
    double until = seconds() + QUIET_LIMIT;
    for (; seconds() < until; usleep(50000)) {
        bytes = __atomic_load_n(&live_bytes, __ATOMIC_RELAXED);
        mine = descriptors_of(getpid());
        if (!bytes && mine == self_process.fds_at_rest && status_of(getpid(), "Threads:") == 1) break;
    }
    if (bytes) fail("%lld bytes of crt are left in %lld blocks", (long long)bytes, (long long)live_blocks);
    if (mine != self_process.fds_at_rest) fail("%d descriptors, %d at first", mine, self_process.fds_at_rest);
    if (status_of(getpid(), "Threads:") != 1) fail("%d threads are left", status_of(getpid(), "Threads:"));
    for (int i = 0; i < SERVERS; i++) {
        server *s = &servers[i];
        for (until = seconds() + QUIET_LIMIT; (fds = descriptors_of(s->pid)) != s->fds_at_rest && seconds() < until;) usleep(50000);
        if (fds != s->fds_at_rest) fail("%s: %d descriptors, %d at first", s->name, fds, s->fds_at_rest);
        if (!s->restarted) keep_sample(s, s->pid);
    }
#ifdef __GLIBC__
    // What is cached for the next round is not in use: arenas of threads that have ended are given back first.
    malloc_trim(0);
    const struct mallinfo2 heap = mallinfo2();
    self_process.heap_last = (int)heap.uordblks;
    if (self_process.samples < 3) self_process.heap_first = self_process.heap_last;
#endif
    keep_sample(&self_process, getpid());
    fflush(report);
}

// An example that ends by itself, or by Ctrl-C.
typedef struct program {
    const char *name, *args[ARGS];
    bool by_signal;
} program;
static const program program_list[] = {
    {.name = "hello"}, {.name = "pubsub"}, {.name = "worker_pool"}, {.name = "philosophers"}, {.name = "producer_consumer"},
    {.name = "select_timeout"}, {.name = "handle_from_thread"}, {.name = "panic_join"}, {.name = "local_echo"},
    {.name = "thread_distribution"}, {.name = "missing_driver"}, {.name = "pipeline"}, {.name = "sleepers"},
    {.name = "graceful_shutdown", .by_signal = true}, {.name = "dns_lookup", .args = {"127.0.0.1:80"}},
};
static void run_program(void)
{
    static uint32_t next;
    const program *p = &program_list[next++ % (sizeof program_list / sizeof program_list[0])];
    const pid_t pid = start_process(p->name, p->args, NULL);
    if (pid < 0) return fail("%s does not start", p->name);
    if (p->by_signal) usleep(1500000), kill(pid, SIGINT);
    const int status = end_of(pid, 120);
    if (status != 0) fail("%s ends with %d", p->name, status);
    if (status < 0) kill(pid, SIGKILL), waitpid(pid, NULL, 0);
    __atomic_fetch_add(&programs, 1, __ATOMIC_RELAXED);
}

static void quiet_log(int level, const char *text, void *data)
{
    (void)data;
    if (level <= CRT_LOG_ERROR) printf("%.0f s: log: %s\n", seconds() - started, text);
}
static void round_of(int number)
{
    static load l;
    pthread_t thread;
    crt_config config = {.log = {.func = quiet_log}, .thread_keep_alive = CRT_SEC(2)};
    const int way = number % 3;   // in order; a shutdown that waits; one that does not
    config.flavor = number % 4 == 3 ? CRT_CURRENT_THREAD : CRT_MULTI_THREAD;
    config.worker_threads = config.flavor == CRT_MULTI_THREAD ? 1 + number % 3 : 0;
    memset(&l, 0, sizeof l);
    __atomic_store_n(&stopping, 0, __ATOMIC_RELAXED);
    l.frame.in_order = way == 0;
    l.frame.seed = (uint64_t)number + 1;
    if (crt_runtime_new(&config, &l.rt) < 0) return fail("no runtime");
    pthread_create(&thread, NULL, load_main, &l);
    double next = seconds() + SAMPLE;
    while (!__atomic_load_n(&l.done, __ATOMIC_ACQUIRE)) {
        for (int i = 0; i < SERVERS; i++)
            if (servers[i].restarted && seconds() > servers[i].next_restart) {
                stop_server(&servers[i]);
                start_server(&servers[i]);
                restarts++;
            }
        if (pick(3) == 0 && next - seconds() > 2) run_program();
        if (seconds() >= next) sample_busy(&l), next += SAMPLE;
        usleep(100000);
    }
    pthread_join(thread, NULL);
    if (way == 1) {
        const int left = crt_runtime_shutdown(l.rt, CRT_SEC(20));
        if (left != 0) fail("a shutdown leaves %d tasks", left);
    } else if (way == 2) {
        (void)crt_runtime_shutdown(l.rt, 0);
    }
    crt_runtime_drop(&l.rt);
    sample_quiet();
}

// ---------------------------------------------------------------------------
// the verdict
// ---------------------------------------------------------------------------

static int by_value(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
static int median_of(const int *from, int n)
{
    int copy[SAMPLES_MAX];
    if (n <= 0) return 0;
    memcpy(copy, from, sizeof *copy * (size_t)n);
    qsort(copy, (size_t)n, sizeof *copy, by_value);
    return copy[n / 2];
}
static void judge(server *s, int warm)
{
    const int n = s->samples - warm, third = n / 3;
    if (third < 1) return;
    const int rss0 = median_of(s->rss + warm, third), rss1 = median_of(s->rss + s->samples - third, third);
    const int threads0 = median_of(s->threads + warm, third), threads1 = median_of(s->threads + s->samples - third, third);
    printf("%-16s %-16s %8d %8d KB %6d %6d threads %5d descriptors\n", s->name, s->args[0] ? s->args[0] : "", rss0, rss1,
           threads0, threads1, s->fds_at_rest);
    // Stacks of ended threads stay cached, as many as there were at once: this program may have more of them later.
    const int cache = s == &self_process ? 4096 : 0;
    if (s->heap_last) printf("%33s %8d %8d bytes given out by malloc\n", "", s->heap_first, s->heap_last);
    if (s->heap_last > s->heap_first + 65536) fail("%s: the heap grows", s->name);
    if (rss1 > rss0 + rss0 / 20 + 1024 + cache) fail("%s: memory grows", s->name);
    if (threads1 > threads0 + 1) fail("%s: threads grow", s->name);
}

int main(int argc, char **argv)
{
    const double length = 60 * (argc > 1 ? atof(argv[1]) : 30);
    int rounds = 0, warm = 0;
    uint64_t all = 0;
    if (argc > 2) directory = argv[2];
    report = fopen(argc > 3 ? argv[3] : "/dev/null", "we");
    if (!report) return perror("report"), 1;
    started = seconds();
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; i < SERVERS; i++) {
        if (servers[i].kind == PROXY) snprintf(proxy_target, sizeof proxy_target, "127.0.0.1:%u", port_of(ECHO_));
        if (!start_server(&servers[i])) break;
    }
    self_process.fds_at_rest = descriptors_of(getpid());
    const double warm_until = started + (length / 6 < 300 ? length / 6 : 300);
    while (!failures && seconds() < started + length) {
        round_of(rounds++);
        if (seconds() < warm_until) warm = rounds;
        if (rounds % 10 == 0) printf("%.0f s: %d rounds, this program %d KB\n", seconds() - started, rounds, status_of(getpid(), "VmRSS:"));
    }
    printf("\nwhile quiet, median of the first and of the last third of the %d rounds after the first %d:\n", rounds - warm, warm);
    for (int i = 0; i < SERVERS; i++) if (!servers[i].restarted) judge(&servers[i], warm);
    judge(&self_process, warm);
    printf("\n%-18s %9s %9s %9s\n", "load", "sessions", "errors", "answers");
    for (int k = 0; k < KINDS; k++) {
        printf("%-18s %9llu %9llu %9llu\n", kind_name[k], (unsigned long long)sessions[k], (unsigned long long)errors[k],
               (unsigned long long)answers[k]);
        all += sessions[k];
        if (!may_break((kind)k) && errors[k] * 1000 > sessions[k] + 1000) fail("%s: too many errors", kind_name[k]);
    }
    for (int i = 0; i < SERVERS; i++) stop_server(&servers[i]);
    fclose(report);
    printf("%.1f minutes, %d runtimes, %llu sessions, %llu aborted, %llu restarts of servers, %llu other programs\n",
           (seconds() - started) / 60, rounds, (unsigned long long)all, (unsigned long long)aborts, (unsigned long long)restarts,
           (unsigned long long)programs);
    printf("%d passed, %d failed\n", failures == 0, failures);
    return failures > 0;
}
