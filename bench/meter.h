// Options, metering and the line of output, for the programs of bench/ in C and C++. Each workload is run `warm`
// times unmeasured, then until `secs` seconds and `miniter` iterations have passed, `maxiter` at most. One line is
// printed (ns are nanoseconds per operation, over the iterations):
//
//   workload params ops seconds ns_per_op min p10 p90 max cpu_ns_per_op nvcsw_per_op iters extra
//
// Only the hot part of an iteration is timed. seconds and ns_per_op are medians; cpu_ns is the CPU time
// of all threads of the process; nvcsw the voluntary context switches, that is, how often a thread slept.
#ifndef BENCH_METER_H
#define BENCH_METER_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

// Keeps the compiler from seeing through a value.
#define BLACK_BOX(x) __asm__ volatile("" : "+r"(x)::"memory")

enum { NO_COUNTERPART = 3 };   // the status of a program that has no such workload

static const char *program_name;
static int arg_count;
static char **args;   // "key=value"

static void die(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "%s: ", program_name);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(2);
}

// ------------------------------------------------------------------------------------------- options

static inline const char *opt_text(const char *key, const char *value)
{
    size_t n = strlen(key);
    for (int i = 0; i < arg_count; i++)
        if (!strncmp(args[i], key, n) && args[i][n] == '=') value = args[i] + n + 1;
    return value;
}

static inline double opt_real(const char *key, double value)
{
    const char *given = opt_text(key, NULL);
    char *end;
    if (!given) return value;
    value = strtod(given, &end);
    if (*end || end == given || value < 0) die("%s=%s: not a number", key, given);
    return value;
}

static inline size_t opt_num(const char *key, size_t value)
{
    return (size_t)opt_real(key, (double)value);
}

// The name of the workload; the rest of the arguments are its options.
static inline const char *take_args(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    program_name = slash ? slash + 1 : argv[0];
    if (argc < 2) die("usage: %s <workload> [key=value]...", program_name);
    arg_count = argc - 2;
    args = argv + 2;
    for (int i = 0; i < arg_count; i++)
        if (!strchr(args[i], '=')) die("%s: expected key=value", args[i]);
    return argv[1];
}

static inline void *must_alloc(size_t count, size_t size)
{
    void *p = calloc(count, size);
    if (!p) die("out of memory");
    return p;
}

static inline const char *text(const char *format, ...)
{
    static char ring[4][256];
    static unsigned turn;
    char *out = ring[turn++ % 4];
    va_list ap;
    va_start(ap, format);
    vsnprintf(out, sizeof ring[0], format, ap);
    va_end(ap);
    return out;
}

// xorshift64: the same sequence in all programs
#define SEED 0x9E3779B97F4A7C15u

static inline uint64_t rng_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

// ------------------------------------------------------------------------------------------ metering

typedef struct sample {
    double wall, cpu, switches;
} sample;

static inline double clock_now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline double switches_of(int who)   // RUSAGE_SELF, RUSAGE_THREAD
{
    struct rusage r;
    getrusage(who, &r);
    return (double)r.ru_nvcsw;
}

static inline double peak_rss_kib(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)r.ru_maxrss;
}

// A line of /proc/self/status in bytes: "VmRSS:" is what is resident, "RssAnon:" what of it is memory of the
// program's own, not pages of its file.
static inline double status_bytes(const char *key)
{
    char line[256];
    double kib = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, key, strlen(key))) kib = atof(line + strlen(key));
    if (!f || kib < 0) die("/proc/self/status: no %s", key);
    fclose(f);
    return kib * 1024;
}

// One measurement at a time: the body of an iteration starts and stops this meter.
static sample meter;

static inline void meter_start(void)
{
    meter.switches = switches_of(RUSAGE_SELF);
    meter.cpu = clock_now(CLOCK_PROCESS_CPUTIME_ID);
    meter.wall = clock_now(CLOCK_MONOTONIC);
}

static inline void meter_stop(void)
{
    meter.wall = clock_now(CLOCK_MONOTONIC) - meter.wall;
    meter.cpu = clock_now(CLOCK_PROCESS_CPUTIME_ID) - meter.cpu;
    meter.switches = switches_of(RUSAGE_SELF) - meter.switches;
}

enum { MAX_ITERATIONS = 5000 };
static sample samples[MAX_ITERATIONS];
static size_t sample_count;

static inline void measure(void (*iteration)(void *), void *arg)
{
    for (size_t i = opt_num("warm", 2); i > 0; i--) iteration(arg);
    double secs = opt_real("secs", 1), start = clock_now(CLOCK_MONOTONIC);
    size_t least = opt_num("miniter", 5), most = opt_num("maxiter", MAX_ITERATIONS);
    if (most > MAX_ITERATIONS) most = MAX_ITERATIONS;
    while ((clock_now(CLOCK_MONOTONIC) - start < secs || sample_count < least) && sample_count < most) {
        iteration(arg);
        samples[sample_count++] = meter;
    }
}

static inline int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline double quantile(const double *sorted, size_t count, double p)
{
    return sorted[(size_t)((double)(count - 1) * p + 0.5)];
}

static inline void report(const char *name, const char *params, size_t ops, const char *extra)
{
    static double wall[MAX_ITERATIONS], cpu[MAX_ITERATIONS], switches[MAX_ITERATIONS];
    size_t k = sample_count;
    for (size_t i = 0; i < k; i++) {
        wall[i] = samples[i].wall;
        cpu[i] = samples[i].cpu;
        switches[i] = samples[i].switches;
    }
    qsort(wall, k, sizeof *wall, by_value);
    qsort(cpu, k, sizeof *cpu, by_value);
    qsort(switches, k, sizeof *switches, by_value);
    double ns = 1e9 / (double)ops;
    printf("%s %s,%s %zu %.6f %.1f %.1f %.1f %.1f %.1f %.1f %.4f %zu %s\n", name, opt_text("rt", "mt2"), params,
           ops, quantile(wall, k, 0.5), quantile(wall, k, 0.5) * ns, wall[0] * ns, quantile(wall, k, 0.1) * ns,
           quantile(wall, k, 0.9) * ns, wall[k - 1] * ns, quantile(cpu, k, 0.5) * ns,
           quantile(switches, k, 0.5) / (double)ops, k, extra);
    fflush(stdout);
}

// What a server says when it is ready; whoever started it waits for this line.
static inline void say_listening(const char *address)
{
    printf("listening %s\n", address);
    fflush(stdout);
}

// A forgotten server does not stay, and none runs out of descriptors before the load does.
static inline void prepare_to_serve(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    alarm((unsigned)opt_num("life", 600));
}

#endif
