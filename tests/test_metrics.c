// What is measured of polls, and all metrics as Prometheus' text (format 0.0.4), read by a strict parser.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

typedef struct busy {
    crt_frame co;
    crt_duration each;
    int polls, i;
} busy;
static void spin(crt_duration d)
{
    for (int64_t end = crt__clock() + d; crt__clock() < end;) {}
}
static crt_poll busy_run(void *frame, crt_cx *cx)
{
    busy *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 1; self->i < self->polls; self->i++) {
        spin(self->each);
        CRT_YIELD();
    }
    spin(self->each);
    CRT_END;
}

// --- a strict reader of the text

typedef struct parsed {
    int families, samples, histograms;
    bool bad;
} parsed;
static size_t name_length(const char *s)
{
    size_t n = 0;
    while ((s[n] >= 'a' && s[n] <= 'z') || (s[n] >= 'A' && s[n] <= 'Z') || s[n] == '_' || s[n] == ':' ||
           (n && s[n] >= '0' && s[n] <= '9'))
        n++;
    return n;
}
static bool is_type(const char *s)
{
    return !strcmp(s, "counter") || !strcmp(s, "gauge") || !strcmp(s, "histogram");
}
// Reads "name{label="value",...} number"; the worker and le are kept. False: it is none.
static bool read_sample(const char *s, char name[64], char worker[16], char le[32], double *value)
{
    size_t n = name_length(s);
    name[0] = worker[0] = le[0] = 0;
    if (!n || n > 63) return false;
    memcpy(name, s, n);
    name[n] = 0;
    s += n;
    if (*s == '{') {
        do {
            char text[64];
            const char *label = ++s;
            size_t length = name_length(s), k = 0;
            if (!length || s[length] != '=' || s[length + 1] != '"') return false;
            for (s += length + 2; *s && *s != '"' && k < 63; s++) {
                if (*s == '\\' && *++s != '\\' && *s != '"' && *s != 'n') return false;
                text[k++] = *s;
            }
            text[k] = 0;
            if (*s++ != '"') return false;
            if (length == 6 && !memcmp(label, "worker", 6)) snprintf(worker, 16, "%.15s", text);
            else if (length == 2 && !memcmp(label, "le", 2)) snprintf(le, 32, "%.31s", text);
            else return false;
        } while (*s == ',');
        if (*s++ != '}') return false;
    }
    if (*s++ != ' ' || *s < '0' || *s > '9') return false;
    char *end;
    *value = strtod(s, &end);
    return *end == 0;
}
static parsed parse(char *text)
{
    parsed p = {0};
    char family[64] = "", type[16] = "", last_help[64] = "", seen[4096] = "";
    double last = 0, last_le = -1;
    if (!*text || text[strlen(text) - 1] != '\n') p.bad = true;
    for (char *line = text, *next; *line && !p.bad; line = next) {
        char name[64], worker[16], le[32], key[70];
        double value;
        next = strchr(line, '\n');
        *next++ = 0;
        if (!strncmp(line, "# HELP ", 7)) {
            size_t n = name_length(line + 7);
            if (!n || n > 63 || line[7 + n] != ' ') p.bad = true;
            else snprintf(last_help, sizeof last_help, "%.*s", (int)n, line + 7);
        } else if (!strncmp(line, "# TYPE ", 7)) {
            size_t n = name_length(line + 7);
            snprintf(family, sizeof family, "%.*s", (int)(n < 63 ? n : 63), line + 7);
            snprintf(key, sizeof key, " %s ", family);
            if (line[7 + n] != ' ' || !is_type(line + 8 + n) || strcmp(family, last_help) || strstr(seen, key)) p.bad = true;
            snprintf(type, sizeof type, "%.15s", line + 8 + n);
            snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%s", key);
            // A counter's name ends in _total, and nobody else's does.
            size_t f = strlen(family);
            if ((f > 6 && !strcmp(family + f - 6, "_total")) != !strcmp(type, "counter")) p.bad = true;
            p.families++;
        } else if (!read_sample(line, name, worker, le, &value)) {
            p.bad = true;
        } else if (!strcmp(type, "histogram")) {
            size_t f = strlen(family);
            if (strncmp(name, family, f)) p.bad = true;
            else if (!strcmp(name + f, "_bucket")) {
                double upper = !strcmp(le, "+Inf") ? 1e300 : strtod(le, NULL);
                if (!le[0] || upper <= last_le || value < last) p.bad = true;   // cumulative, and rising
                last_le = upper;
                last = value;
            } else if (!strcmp(name + f, "_sum")) {
                if (last_le < 1e300) p.bad = true;   // +Inf came last
            } else if (!strcmp(name + f, "_count")) {
                if (value < last || value > last) p.bad = true;
                p.histograms++;
                last_le = -1;
                last = 0;
            } else p.bad = true;
            p.samples++;
        } else {
            if (strcmp(name, family) || le[0]) p.bad = true;
            p.samples++;
        }
        if (p.bad) fprintf(stderr, "bad line: %s\n", line);
    }
    return p;
}
static parsed parse_copy(const char *text)
{
    char *copy = malloc(strlen(text) + 1);
    strcpy(copy, text);
    parsed p = parse(copy);
    free(copy);
    return p;
}
static void the_parser_is_strict(void)
{
    CHECK(!parse_copy("# HELP a_total x\n# TYPE a_total counter\na_total 1\n").bad);
    CHECK(parse_copy("# HELP a x\n# TYPE a counter\na 1\n").bad);
    CHECK(parse_copy("# HELP a x\n# TYPE a gauge\nb 1\n").bad);
    CHECK(parse_copy("# HELP a x\n# TYPE a gauge\na{worker=\"\\x\"} 1\n").bad);
    CHECK(parse_copy("# HELP a x\n# TYPE a gauge\na 1").bad);
    CHECK(parse_copy("# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n").bad);
    CHECK(parse_copy("# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 3\na_sum 1\na_count 2\n").bad);
}

// --- the histogram

static crt_runtime *measured(int flavor, int scale, crt_duration resolution, int buckets)
{
    crt_runtime *rt = NULL;
    crt_config c = {.flavor = flavor, .worker_threads = 2, .poll_histogram = scale,
                    .poll_histogram_resolution = resolution, .poll_histogram_buckets = buckets};
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    return rt;
}
static void each_poll_is_in_its_bucket(void)
{
    crt_runtime *rt = measured(CRT_CURRENT_THREAD, CRT_HISTOGRAM_LINEAR, CRT_MS(1), 3);
    crt_poll_bucket b[3];
    crt_runtime_metrics m;
    CHECK_EQ(crt_block_on(rt, busy_run, &(busy){.each = CRT_MS(2), .polls = 5}), 0);
    for (int i = 0; i < 3; i++) CHECK_EQ(crt_metrics_poll_bucket(rt, -1, i, &b[i]), 0);
    CHECK_EQ(b[0].from, 0);
    CHECK_EQ(b[1].from, b[0].to);
    CHECK_EQ(b[2].from, CRT_MS(2));
    CHECK_EQ(b[2].to, CRT_FOREVER);
    CHECK_EQ(b[2].count, 5);
    CHECK_EQ(crt_metrics(rt, &m), 0);
    CHECK_EQ(m.poll_histogram_buckets, 3);
    CHECK_EQ(m.poll_histogram_count, m.worker_poll_count);
    CHECK(m.poll_histogram_ns >= (uint64_t)CRT_MS(10));
    crt_runtime_drop(&rt);
}
static void log_buckets_double(void)
{
    crt_config c = {.poll_histogram = CRT_HISTOGRAM_LOG, .poll_histogram_resolution = 1000, .poll_histogram_buckets = 5};
    crt_runtime *rt = measured(CRT_CURRENT_THREAD, CRT_HISTOGRAM_LOG, 1000, 5);
    crt_duration end = 0;
    for (int i = 0; i < 5; i++) {
        crt_poll_bucket b;
        CHECK_EQ(crt_metrics_poll_bucket(rt, 0, i, &b), 0);
        CHECK_EQ(b.from, end);
        CHECK_EQ(crt__poll_bucket_of(&c, (uint64_t)b.from), i);
        end = b.to;
        if (i < 4) CHECK_EQ(crt__poll_bucket_of(&c, (uint64_t)b.to - 1), i);
        if (i < 4) CHECK_EQ(b.to, 1000 << i);
    }
    CHECK_EQ(end, CRT_FOREVER);
    CHECK_EQ(crt__poll_bucket_of(&c, UINT64_MAX), 4);
    crt_runtime_drop(&rt);
}
static void bad_histograms_are_refused(void)
{
    crt_runtime *rt = NULL;
    crt_config bad[] = {{.poll_histogram = 3}, {.poll_histogram = -1}, {.poll_histogram = 1, .poll_histogram_buckets = 1},
                        {.poll_histogram = 1, .poll_histogram_buckets = 65}, {.poll_histogram_resolution = -1},
                        {.poll_histogram = 2, .poll_histogram_buckets = 64}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        bad[i].log.func = test_log;
        CHECK_EQ(crt_runtime_new(&bad[i], &rt), CRT_EINVAL);
    }
    CHECK(test_log_has("poll_histogram"));
    crt_poll_bucket b;
    rt = measured(CRT_CURRENT_THREAD, CRT_HISTOGRAM_OFF, 0, 0);
    CHECK_EQ(crt_metrics_poll_bucket(rt, 0, 0, &b), CRT_EINVAL);   // off
    crt_runtime_drop(&rt);
    rt = measured(CRT_CURRENT_THREAD, CRT_HISTOGRAM_LOG, 0, 0);
    CHECK_EQ(crt_metrics_poll_bucket(rt, 0, 26, &b), 0);
    CHECK_EQ(crt_metrics_poll_bucket(rt, 0, 27, &b), CRT_EINVAL);
    CHECK_EQ(crt_metrics_poll_bucket(rt, 1, 0, &b), CRT_EINVAL);
    CHECK_EQ(crt_metrics_poll_bucket(rt, -2, 0, &b), CRT_EINVAL);
    CHECK_EQ(crt_metrics_poll_bucket(rt, 0, 0, NULL), CRT_EINVAL);
    CHECK_EQ(crt_metrics_poll_bucket(NULL, 0, 0, &b), CRT_EINVAL);
    crt_runtime_drop(&rt);
}

// --- the text

static void the_text_is_prometheus(void)
{
    for (int scale = CRT_HISTOGRAM_OFF; scale <= CRT_HISTOGRAM_LOG; scale++) {
        crt_runtime *rt = measured(CRT_MULTI_THREAD, scale, 0, 0);
        crt_handle *h = crt_runtime_handle(rt);
        CHECK_EQ(crt_block_on(rt, busy_run, &(busy){.each = CRT_US(10), .polls = 50}), 0);
        for (int i = 0; i < 8; i++) CHECK_EQ(crt_handle_spawn(h, busy_run, &(busy){.each = CRT_US(20), .polls = 300}), 0);
        static char text[1 << 16];
        for (int i = 0; i < 20; i++) {   // while they run
            int n = crt_metrics_prometheus_text(rt, text, sizeof text);
            CHECK_EQ(n, strlen(text));
            parsed p = parse_copy(text);
            CHECK(!p.bad);
            CHECK_EQ(p.histograms, scale ? 2 : 0);
            CHECK_EQ(p.families, 23 + !!scale);
        }
        CHECK(strstr(text, "\ncrt_workers 2\n") != NULL);
        CHECK(strstr(text, "\ncrt_worker_polls_total{worker=\"1\"} ") != NULL);
        crt_handle_drop(&h);
        crt_runtime_drop(&rt);
    }
}
static void a_short_buffer_is_cut(void)
{
    crt_runtime *rt = measured(CRT_CURRENT_THREAD, CRT_HISTOGRAM_OFF, 0, 0);
    char small[16];
    memset(small, 'x', sizeof small);
    CHECK(crt_metrics_prometheus_text(rt, small, 8) > 1000);
    CHECK(!strcmp(small, "# HELP "));
    CHECK_EQ(small[8], 'x');
    CHECK(crt_metrics_prometheus_text(rt, NULL, 0) > 1000);
    CHECK_EQ(crt_metrics_prometheus_text(rt, NULL, 5), CRT_EINVAL);
    CHECK_EQ(crt_metrics_prometheus_text(NULL, small, 8), CRT_EINVAL);
    CHECK_EQ(crt_metrics_prometheus(NULL, stderr), CRT_EINVAL);
    CHECK_EQ(crt_metrics_prometheus(rt, NULL), CRT_EINVAL);
    FILE *f = tmpfile();
    CHECK_EQ(crt_metrics_prometheus(rt, f), 0);
    rewind(f);
    static char text[1 << 14];
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    CHECK(!parse_copy(text).bad);
    fclose(f);
    crt_task_metrics m;
    CHECK_EQ(crt_metrics_task(rt, 1, &m), -ENOTSUP);   // built without CRT_ENABLE_TRACE
    CHECK_EQ(crt_metrics_task(NULL, 1, &m), CRT_EINVAL);
    CHECK_EQ(crt_metrics_task(rt, 1, NULL), CRT_EINVAL);
    crt_runtime_drop(&rt);
}

static bool no_buckets;
static void *no_buckets_alloc(size_t n, void *user) { return no_buckets && n == *(size_t *)user ? NULL : malloc(n); }
static void plain_free(void *p, void *user) { (void)user, free(p); }
static void what_cannot_be_written_or_counted(void)
{
    crt_runtime *rt = measured(CRT_CURRENT_THREAD, CRT_HISTOGRAM_LOG, 0, 0), *other;
    crt_poll_bucket bucket;
    size_t size = crt__poll_buckets_bytes(rt);
    CHECK_EQ(crt_metrics_poll_bucket(rt, 0, -1, &bucket), CRT_EINVAL);
#ifdef __linux__
    FILE *full = fopen("/dev/full", "w");
    if (full) {
        setvbuf(full, NULL, _IONBF, 0);
        CHECK_EQ(crt_metrics_prometheus(rt, full), -EIO);
        fclose(full);
    }
#endif
    crt_runtime_drop(&rt);
    no_buckets = true;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .poll_histogram = CRT_HISTOGRAM_LOG,
                                           .allocator = {no_buckets_alloc, plain_free, &size}}, &other), CRT_ENOMEM);
    CHECK(!other);
    no_buckets = false;
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST(the_parser_is_strict);
    TEST(each_poll_is_in_its_bucket);
    TEST(log_buckets_double);
    TEST(bad_histograms_are_refused);
    TEST(the_text_is_prometheus);
    TEST(a_short_buffer_is_cut);
    TEST(what_cannot_be_written_or_counted);
    return test_end();
}
