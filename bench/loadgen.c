// A closed-loop load generator for echo servers, and for those of http_answer.h: one thread, epoll, loopback only.
//
//   loadgen port=P [conns=50] [msg=64] [depth=1] [secs=3] [warm=0.5] [pid=SERVER] [idle=SECONDS] [requests=N] [http=1]
//
// Each connection keeps `depth` messages of `msg` bytes outstanding; one that has come back is replaced
// at once. Every byte is compared with what was sent; http=1: with the answer to GET /. Latency runs from handing a message to the
// socket to its last byte coming back. With the server's pid, its CPU time per request is reported: on
// a noisy machine the user-mode part is the steadiest figure that there is, as the kernel's part and
// the throughput are mostly TCP's. srv_user_by=samples says that it was sampled every 50 us, for half as
// long again; ticks that the kernel's own division of the sum had to do. idle=S instead: connect, one round trip each, sit S seconds, report
// how much memory each connection cost the server (its own: pages of its file are not counted). requests=N
// ends after N messages, however long they take, so that what they cost can be counted.
//
// One line: echo conns=,msg=,depth= requests seconds then key=value pairs.
#include "http_answer.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#ifdef __linux__
#include <linux/perf_event.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#endif
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void die(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fputs("loadgen: ", stderr);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t)) return 0;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// ------------------------------------------------------------------------------------------- options

static int arg_count;
static char **args;

static double option(const char *key, double value)
{
    size_t n = strlen(key);
    for (int i = 1; i < arg_count; i++)
        if (!strncmp(args[i], key, n) && args[i][n] == '=') value = atof(args[i] + n + 1);
    return value;
}

static size_t conns, message, depth;
static int server_pid;

// ------------------------------------------------------------------- latency histogram, log and linear

// 64 buckets an octave (the upper half of a row; the lower one is that of the octaves below), so a quantile is
// off by 1.6 % at most.
enum { OCTAVES = 57, ROW = 128 };
static uint64_t histogram[OCTAVES + 1][ROW], recorded, slowest;

static void record(uint64_t ns)
{
    int octave = 0;
    while (ns >> octave >= ROW) octave++;
    histogram[octave][ns >> octave]++;
    recorded++;
    if (ns > slowest) slowest = ns;
}

static double quantile_us(double p)
{
    uint64_t rank = (uint64_t)(p * (double)recorded), seen = 0;
    for (int octave = 0; octave <= OCTAVES; octave++)
        for (int i = 0; i < ROW; i++) {
            seen += histogram[octave][i];
            if (seen > rank) return (double)((uint64_t)i << octave) / 1e3;
        }
    return (double)slowest / 1e3;
}

// ------------------------------------------------------------------------------- what the server costs

// The server's user-mode time. The kernel divides what it knows exactly, the sum, by where its clock ticks find the
// process (every 4 ms, say), and /proc gives it in hundredths of a second: a second of a server that spends 5 % of it
// in user mode is one of 4, 5 or 6. Where perf events may be had (perf_event_paranoid 2 or less; no privileges, and
// no counters of the processor), a sample is taken every 50 us of a thread's time that is user mode. Nobody reads the
// samples: they are 8 bytes each, and the head of the ring says how many there have been.
enum { SAMPLE_NS = 50000, MAX_THREADS = 64 };

#ifdef __linux__
static volatile struct perf_event_mmap_page *rings[MAX_THREADS];
static size_t ring_count;

static bool sample_thread(int thread)
{
    struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE, .size = sizeof attr, .config = PERF_COUNT_SW_CPU_CLOCK,
                                    .sample_period = SAMPLE_NS, .exclude_kernel = 1, .exclude_hv = 1, .watermark = 1,
                                    .wakeup_watermark = 1u << 30 };
    if (ring_count == MAX_THREADS) return false;
    int fd = (int)syscall(SYS_perf_event_open, &attr, thread, -1, -1, (unsigned long)PERF_FLAG_FD_CLOEXEC);
    // readable alone: old samples are overwritten and none is lost
    void *ring = fd < 0 ? MAP_FAILED : mmap(NULL, 2 * (size_t)sysconf(_SC_PAGESIZE), PROT_READ, MAP_SHARED, fd, 0);
    if (ring == MAP_FAILED) return false;
    rings[ring_count++] = ring;
    return true;
}

// Starts it; false: not to be had. Threads that start later are not seen.
static bool sample_server(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", server_pid);
    DIR *dir = server_pid ? opendir(path) : NULL;
    bool all = dir;
    for (struct dirent *e; all && (e = readdir(dir));)
        if (e->d_name[0] != '.') all = sample_thread(atoi(e->d_name));
    if (dir) closedir(dir);
    return all;
}

static double sampled(void)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < ring_count; i++) bytes += rings[i]->data_head;
    return (double)bytes / sizeof(struct perf_event_header) * SAMPLE_NS * 1e-9;
}
#else
static bool sample_server(void) { return false; }
static double sampled(void) { return 0; }
#endif

typedef struct cost {
    double cpu, user;   // seconds
    long switches;      // voluntary, of all threads
} cost;

static long status_field(const char *path, const char *key)
{
    char line[256];
    long value = 0;
    FILE *f = fopen(path, "r");
    if (!f) return 0;
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, key, strlen(key))) value = atol(line + strlen(key));
    fclose(f);
    return value;
}

static double server_memory(const char *key)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/status", server_pid);
    return server_pid ? (double)status_field(path, key) * 1024 : 0;
}

static cost server_cost(void)
{
    cost c = { 0 };
    char path[320], line[1024];
    clockid_t clock;
    if (!server_pid) return c;
    if (!clock_getcpuclockid(server_pid, &clock)) c.cpu = (double)now_ns(clock) * 1e-9;
    snprintf(path, sizeof path, "/proc/%d/stat", server_pid);
    FILE *f = fopen(path, "r");
    if (f) {
        unsigned long user = 0;
        char *after_name = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
        if (after_name && sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu", &user) == 1)
            c.user = (double)user / (double)sysconf(_SC_CLK_TCK);
        fclose(f);
    }
    snprintf(path, sizeof path, "/proc/%d/task", server_pid);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/status", server_pid, e->d_name);
        c.switches += status_field(path, "voluntary_ctxt_switches:");
    }
    if (dir) closedir(dir);
    return c;
}

// --------------------------------------------------------------------------------------- connections

// What connection i sends at stream position p is source[(p + i * 31) % PERIOD]: a byte that is lost,
// doubled or delivered to another connection does not go unnoticed. With http it sends one request over and over and
// gets the same answer as often.
enum { PERIOD = 251, CHUNK = 64 * 1024 };
typedef struct stream {
    size_t message, period;
    unsigned char source[PERIOD + CHUNK];   // the first period, and again and again
} stream;
static stream requests_out, answers_in;

static void stream_fill(stream *s, const char *text, size_t n, size_t a_message)
{
    s->message = a_message;
    s->period = n;
    for (size_t i = 0; i < sizeof s->source; i++) s->source[i] = text ? (unsigned char)text[i % n] : (unsigned char)(i % n);
}

typedef struct conn {
    int fd;
    bool counted;               // its first round trip is done
    size_t key;                 // where in `source` position 0 lies
    uint64_t sent, received;    // bytes
    uint64_t owed;              // bytes that are to be written
    uint64_t *stamps;           // when the outstanding messages were sent; a ring of `depth`
    size_t oldest, newest;
} conn;

static void conn_open(conn *c, size_t i, int port, int ep)
{
    int one = 1;
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct linger reset = { 1, 0 };   // closing sends RST: thousands of sockets in TIME_WAIT disturb the next run
    *c = (conn){ .key = requests_out.period == PERIOD ? i * 31 % PERIOD : 0, .stamps = calloc(depth, sizeof *c->stamps) };
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || !c->stamps) die("connection %zu: %s", i, strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (connect(c->fd, (void *)&a, sizeof a)) die("connection %zu: %s", i, strerror(errno));
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c };
    if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e)) die("epoll_ctl: %s", strerror(errno));
}

static void conn_flush(conn *c)
{
    while (c->owed) {
        size_t n = c->owed < CHUNK ? (size_t)c->owed : CHUNK;
        ssize_t k = send(c->fd, requests_out.source + (c->key + c->sent) % requests_out.period, n, MSG_NOSIGNAL);
        if (k < 0 && errno == EAGAIN) return;
        if (k < 0) die("send: %s", strerror(errno));
        c->owed -= (uint64_t)k;
        c->sent += (uint64_t)k;
    }
}

static void conn_send(conn *c, size_t messages)
{
    uint64_t t = now_ns(CLOCK_MONOTONIC);
    for (size_t i = 0; i < messages; i++) {
        c->stamps[c->newest] = t;
        if (++c->newest == depth) c->newest = 0;
    }
    c->owed += messages * requests_out.message;
    conn_flush(c);
}

// Reads all there is and checks it. How many messages have come back.
static size_t conn_receive(conn *c)
{
    static unsigned char in[CHUNK];
    uint64_t before = c->received / answers_in.message;
    for (;;) {
        ssize_t k = recv(c->fd, in, sizeof in, 0);
        if (k < 0 && errno == EAGAIN) break;
        if (k < 0) die("recv: %s", strerror(errno));
        if (k == 0) die("the server closed a connection");
        if (memcmp(in, answers_in.source + (c->key + c->received) % answers_in.period, (size_t)k)) die("wrong bytes came back");
        c->received += (uint64_t)k;
        if (c->received / answers_in.message > c->sent / requests_out.message) die("more came back than was sent");
        if ((size_t)k < sizeof in) break;   // a short read: the socket is empty, and its edge will come again
    }
    size_t whole = (size_t)(c->received / answers_in.message - before);
    uint64_t t = whole ? now_ns(CLOCK_MONOTONIC) : 0;
    for (size_t i = 0; i < whole; i++) {
        record(t - c->stamps[c->oldest]);
        if (++c->oldest == depth) c->oldest = 0;
    }
    return whole;
}

// ---------------------------------------------------------------------------------------------- main

// Handles events for up to 10 ms; `more`: keeps the loop closed by sending anew. Messages that came back.
static uint64_t turn(int ep, bool more, size_t *first_trips)
{
    static struct epoll_event events[512];
    uint64_t total = 0;
    int n = epoll_wait(ep, events, 512, 10);
    for (int i = 0; i < n; i++) {
        conn *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT) conn_flush(c);
        if (!(events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) continue;
        size_t whole = conn_receive(c);
        total += whole;
        if (whole && !c->counted) {
            c->counted = true;
            ++*first_trips;
        }
        if (whole && more) conn_send(c, whole);
    }
    return total;
}

int main(int argc, char **argv)
{
    arg_count = argc;
    args = argv;
    int port = (int)option("port", 0);
    double secs = option("secs", 3), warm = option("warm", 0.5), idle = option("idle", -1);
    conns = (size_t)option("conns", 50);
    message = (size_t)option("msg", 64);
    depth = (size_t)option("depth", 1);
    size_t fixed = (size_t)option("requests", 0);
    server_pid = (int)option("pid", 0);
    if (port <= 0 || !conns || !message || !depth) die("usage: see the top of loadgen.c");

    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (conns + 16 > limit.rlim_cur) die("%zu connections: the limit of descriptors is %zu", conns, (size_t)limit.rlim_cur);
    static const char get[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    bool http = option("http", 0) > 0;
    stream_fill(&requests_out, http ? get : NULL, http ? sizeof get - 1 : PERIOD, http ? sizeof get - 1 : message);
    stream_fill(&answers_in, http ? HTTP_OK : NULL, http ? sizeof HTTP_OK - 1 : PERIOD, http ? sizeof HTTP_OK - 1 : message);

    int ep = epoll_create1(EPOLL_CLOEXEC);
    conn *all = calloc(conns, sizeof *all);
    if (ep < 0 || !all) die("no memory");
    double anon = server_memory("RssAnon:");
    size_t first_trips = 0;
    uint64_t start = now_ns(CLOCK_MONOTONIC);

    // One round trip for each connection proves that the server has taken it.
    for (size_t i = 0; i < conns; i++) {
        conn_open(&all[i], i, port, ep);
        conn_send(&all[i], 1);
    }
    while (first_trips < conns) {
        turn(ep, false, &first_trips);
        if (now_ns(CLOCK_MONOTONIC) - start > 60000000000u) die("only %zu of %zu connections answer", first_trips, conns);
    }
    if (idle >= 0) {
        double up = (double)(now_ns(CLOCK_MONOTONIC) - start) * 1e-9;
        nanosleep(&(struct timespec){ (time_t)idle, (long)((idle - (double)(time_t)idle) * 1e9) }, NULL);
        printf("idle conns=%zu,msg=%zu connect_s=%.3f server_rss_kib=%.0f bytes_per_conn=%.0f\n", conns, message, up,
               server_memory("VmRSS:") / 1024, (server_memory("RssAnon:") - anon) / (double)conns);
        return 0;
    }

    for (size_t i = 0; i < conns; i++) conn_send(&all[i], depth);
    uint64_t end = now_ns(CLOCK_MONOTONIC) + (uint64_t)(warm * 1e9), requests = 0;
    if (fixed) {
        while (requests < fixed) requests += turn(ep, requests + conns * depth < fixed, &first_trips);
        printf("counted conns=%zu,msg=%zu,depth=%zu %llu\n", conns, message, depth, (unsigned long long)requests);
        return 0;
    }
    while (now_ns(CLOCK_MONOTONIC) < end) turn(ep, true, &first_trips);

    memset(histogram, 0, sizeof histogram);
    recorded = slowest = 0;
    cost before = server_cost();
    uint64_t own = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    start = now_ns(CLOCK_MONOTONIC);
    end = start + (uint64_t)(secs * 1e9);
    while (now_ns(CLOCK_MONOTONIC) < end) requests += turn(ep, true, &first_trips);
    double seconds = (double)(now_ns(CLOCK_MONOTONIC) - start) * 1e-9;
    own = now_ns(CLOCK_PROCESS_CPUTIME_ID) - own;
    cost after = server_cost();
    if (!requests) die("no request was answered in %.1f s", seconds);

    double per = 1e6 / (double)requests, user = (after.user - before.user) * per, slowest_us = (double)slowest / 1e3;
    double p50 = quantile_us(0.5), p90 = quantile_us(0.9), p99 = quantile_us(0.99), p999 = quantile_us(0.999);

    // Sampling slows the server down, so it has a time of its own.
    bool sampling = sample_server();
    if (sampling) {
        uint64_t others = 0, ends = now_ns(CLOCK_MONOTONIC) + (uint64_t)(secs * 0.5e9);
        double was = sampled();
        while (now_ns(CLOCK_MONOTONIC) < ends) others += turn(ep, true, &first_trips);
        if (!others) die("no request was answered in %.1f s", secs / 2);
        user = (sampled() - was) * 1e6 / (double)others;
    }
    printf("echo conns=%zu,msg=%zu,depth=%zu %llu %.3f rps=%.0f p50_us=%.1f p90_us=%.1f p99_us=%.1f p999_us=%.1f "
           "max_us=%.1f srv_user_us=%.4f srv_user_by=%s srv_cpu_us=%.3f srv_switches=%.4f srv_rss_kib=%.0f gen_cpu=%.2f\n",
           conns, message, depth, (unsigned long long)requests, seconds, (double)requests / seconds, p50, p90, p99, p999,
           slowest_us, user, sampling ? "samples" : "ticks", (after.cpu - before.cpu) * per,
           (double)(after.switches - before.switches) / (double)requests, server_memory("VmRSS:") / 1024,
           (double)own * 1e-9 / seconds);
    return 0;
}
