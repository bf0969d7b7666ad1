// What is measured of polls and of the waits for them, workers that park, what hooks are told of tasks, and all
// metrics as Prometheus' text (format 0.0.4), read by a strict parser.
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

// --- the histograms

static crt_runtime *measured(crt_config c)
{
    crt_runtime *rt = NULL;
    c.worker_threads = 2;
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    return rt;
}
static void each_poll_is_in_its_bucket(void)
{
    crt_runtime *rt = measured((crt_config){.flavor = CRT_CURRENT_THREAD, .poll_histogram = CRT_HISTOGRAM_LINEAR,
                                            .poll_histogram_resolution = CRT_MS(1), .poll_histogram_buckets = 3});
    crt_histogram_bucket b[3];
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
    static int (*const bucket_of[])(crt_runtime *, int, int, crt_histogram_bucket *) =
        {crt_metrics_poll_bucket, crt_metrics_schedule_bucket};
    crt__scale scale = {CRT_HISTOGRAM_LOG, 5, 1000};
    for (int h = 0; h < 2; h++) {
        crt_config c = {.flavor = CRT_CURRENT_THREAD};
        *(h ? &c.schedule_histogram : &c.poll_histogram) = CRT_HISTOGRAM_LOG;
        *(h ? &c.schedule_histogram_resolution : &c.poll_histogram_resolution) = 1000;
        *(h ? &c.schedule_histogram_buckets : &c.poll_histogram_buckets) = 5;
        crt_runtime *rt = measured(c);
        crt_duration end = 0;
        for (int i = 0; i < 5; i++) {
            crt_histogram_bucket b;
            CHECK_EQ(bucket_of[h](rt, 0, i, &b), 0);
            CHECK_EQ(bucket_of[!h](rt, 0, i, &b), CRT_EINVAL);   // the other one is off
            CHECK_EQ(b.from, end);
            CHECK_EQ(crt__bucket_of(scale, (uint64_t)b.from), i);
            end = b.to;
            if (i < 4) CHECK_EQ(crt__bucket_of(scale, (uint64_t)b.to - 1), i);
            if (i < 4) CHECK_EQ(b.to, 1000 << i);
        }
        CHECK_EQ(end, CRT_FOREVER);
        CHECK_EQ(crt__bucket_of(scale, UINT64_MAX), 4);
        crt_runtime_drop(&rt);
    }
}
static void bad_histograms_are_refused(void)
{
    crt_runtime *rt = NULL;
    crt_config bad[] = {{.poll_histogram = 3}, {.poll_histogram = -1},
                        {.poll_histogram = 1, .poll_histogram_buckets = 1},
                        {.poll_histogram = 1, .poll_histogram_buckets = 65}, {.poll_histogram_resolution = -1},
                        {.poll_histogram = 2, .poll_histogram_buckets = 64},
                        {.schedule_histogram = 3}, {.schedule_histogram = -1}, {.schedule_histogram_buckets = 65},
                        {.schedule_histogram_resolution = CRT_SEC(2)},
                        {.schedule_histogram = 2, .schedule_histogram_buckets = 64}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        test_log_clear();
        bad[i].log.func = test_log;
        CHECK_EQ(crt_runtime_new(&bad[i], &rt), CRT_EINVAL);
        CHECK(test_log_has(i < 6 ? "crt_config.poll_histogram" : "crt_config.schedule_histogram"));
    }
    crt_histogram_bucket b;
    rt = measured((crt_config){.flavor = CRT_CURRENT_THREAD});
    CHECK_EQ(crt_metrics_poll_bucket(rt, 0, 0, &b), CRT_EINVAL);   // off
    CHECK_EQ(crt_metrics_schedule_bucket(rt, 0, 0, &b), CRT_EINVAL);
    crt_runtime_drop(&rt);
    rt = measured((crt_config){.flavor = CRT_CURRENT_THREAD, .poll_histogram = CRT_HISTOGRAM_LOG,
                               .schedule_histogram = CRT_HISTOGRAM_LINEAR});
    CHECK_EQ(crt_metrics_poll_bucket(rt, 0, 26, &b), 0);
    CHECK_EQ(crt_metrics_poll_bucket(rt, 0, 27, &b), CRT_EINVAL);
    CHECK_EQ(crt_metrics_poll_bucket(rt, 1, 0, &b), CRT_EINVAL);
    CHECK_EQ(crt_metrics_poll_bucket(rt, -2, 0, &b), CRT_EINVAL);
    CHECK_EQ(crt_metrics_poll_bucket(rt, 0, 0, NULL), CRT_EINVAL);
    CHECK_EQ(crt_metrics_poll_bucket(NULL, 0, 0, &b), CRT_EINVAL);
    CHECK_EQ(crt_metrics_schedule_bucket(rt, 0, 9, &b), 0);
    CHECK_EQ(b.from, CRT_US(900));
    CHECK_EQ(crt_metrics_schedule_bucket(rt, 0, 10, &b), CRT_EINVAL);
    CHECK_EQ(crt_metrics_schedule_bucket(rt, 0, 0, NULL), CRT_EINVAL);
    CHECK_EQ(crt_metrics_schedule_bucket(NULL, 0, 0, &b), CRT_EINVAL);
    crt_runtime_drop(&rt);
}

// --- how long tasks wait for a poll

static crt_runtime_metrics metrics(crt_runtime *rt)
{
    crt_runtime_metrics m;
    CHECK_EQ(crt_metrics(rt, &m), 0);
    return m;
}
// A task driven by hand: what its next poll does, and when the last one began and ended.
enum { PARKS, WAKES_ITSELF, YIELDS, ENDS };
typedef struct stepped {
    crt_waker waker;
    int64_t began, ended;
    int next, polls;
} stepped;
static crt_poll stepped_run(void *frame, crt_cx *cx)
{
    stepped *s = *(stepped **)frame;
    crt_poll r = CRT_PENDING;
    s->began = crt__clock();
    s->polls++;
    if (!s->waker.vtable) s->waker = crt_waker_clone(cx);
    if (s->next == WAKES_ITSELF) crt_wake_by_ref(&s->waker);
    if (s->next == YIELDS) r = crt_yield_now(cx);
    else if (s->next == ENDS) r = 0;
    if (s->next == WAKES_ITSELF || (s->next == YIELDS && r == CRT_PENDING)) spin(CRT_MS(8));
    if (r == 0 && s->next == YIELDS) r = CRT_PENDING, s->next = PARKS;
    if (s->next == WAKES_ITSELF) s->next = PARKS;
    if (s->next == ENDS) crt_waker_drop(&s->waker);
    s->ended = crt__clock();
    return r;
}
// Lets it wait for 3 ms and polls it. The wait that was added: from 3 ms to all since `since`.
static void waits_since(crt_runtime *rt, stepped *s, int64_t since)
{
    uint64_t before = metrics(rt).schedule_histogram_ns;
    spin(CRT_MS(3));
    CHECK_EQ(crt_runtime_turn(rt, 0), 1);
    uint64_t waited = metrics(rt).schedule_histogram_ns - before;
    CHECK(waited >= (uint64_t)CRT_MS(3));
    CHECK(waited <= (uint64_t)(s->began - since));
}
static void a_wait_is_from_the_wake_to_the_poll(void)
{
    crt_runtime *rt = measured((crt_config){.flavor = CRT_CURRENT_THREAD, .schedule_histogram = CRT_HISTOGRAM_LINEAR,
                                            .schedule_histogram_resolution = CRT_MS(1),
                                            .schedule_histogram_buckets = 3});
    crt_handle *h = crt_runtime_handle(rt);
    crt_histogram_bucket b;
    stepped s = {.next = PARKS};
    int64_t since = crt__clock();
    CHECK_EQ(crt_handle_spawn(h, stepped_run, &(stepped *){&s}), 0);
    waits_since(rt, &s, since);
    spin(CRT_MS(5));   // idle, which is not counted
    since = crt__clock();
    crt_wake_by_ref(&s.waker);
    waits_since(rt, &s, since);

    since = crt__clock();
    crt_wake_by_ref(&s.waker);
    spin(CRT_MS(5));
    crt_wake_by_ref(&s.waker);   // the first one counts
    uint64_t before = metrics(rt).schedule_histogram_ns;
    s.next = WAKES_ITSELF;
    waits_since(rt, &s, since);
    CHECK(metrics(rt).schedule_histogram_ns - before >= (uint64_t)CRT_MS(8));
    waits_since(rt, &s, s.ended);   // what it did after it had woken itself is no wait

    crt_wake_by_ref(&s.waker);
    s.next = YIELDS;
    CHECK_EQ(crt_runtime_turn(rt, 0), 1);
    waits_since(rt, &s, s.ended);   // neither is what it did before it yielded
    crt_wake_by_ref(&s.waker);
    s.next = ENDS;
    CHECK_EQ(crt_runtime_turn(rt, 0), 1);

    uint64_t n = 0;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(crt_metrics_schedule_bucket(rt, -1, i, &b), 0);
        n += b.count;
    }
    CHECK(b.count >= 5);   // the last one: those of 3 ms or more
    CHECK_EQ(n, s.polls);
    CHECK_EQ(metrics(rt).schedule_histogram_buckets, 3);
    CHECK_EQ(metrics(rt).schedule_histogram_count, n);
    CHECK_EQ(metrics(rt).worker_poll_count, n);
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}

// Every kind of task waits, is woken from everywhere, and is counted once for each poll.
typedef struct odd {
    unsigned char bytes[37];
} odd;
static CRT_TASK_STORAGE(odd) odd_storage;
static int spoiled, ran, opened;   // atomic
// Its frame: how long it is (two bytes), and a pattern that must not change.
static crt_poll pattern_run(void *frame, crt_cx *cx)
{
    const unsigned char *f = frame;
    size_t n = f[0] | (size_t)f[1] << 8;
    for (size_t i = 2; i < n; i++)
        if (f[i] != (unsigned char)(i * 7)) __atomic_fetch_add(&spoiled, 1, __ATOMIC_SEQ_CST);
    if (crt_yield_now(cx) == CRT_PENDING) return CRT_PENDING;
    __atomic_fetch_add(&ran, 1, __ATOMIC_SEQ_CST);
    return 0;
}
static const unsigned char *pattern(size_t n)
{
    static unsigned char bytes[20000];
    for (size_t i = 2; i < n; i++) bytes[i] = (unsigned char)(i * 7);
    bytes[0] = (unsigned char)n;
    bytes[1] = (unsigned char)(n >> 8);
    return bytes;
}
typedef struct mixed {
    crt_frame co;
    crt_join_set set;
    crt_local_set local;
    crt_notify gate;
    crt_join_handle *h, *job;
    size_t size;
    int i, tasks;
} mixed;
static crt_poll gated_run(void *frame, crt_cx *cx)
{
    crt_poll r = crt_notified(cx, *(crt_notify **)frame);
    if (r == 0) __atomic_fetch_add(&opened, 1, __ATOMIC_SEQ_CST);
    return r;
}
static intptr_t opens(void *gate)
{
    for (; __atomic_load_n(&opened, __ATOMIC_SEQ_CST) < 20; test_pause_us(50)) crt_notify_one(gate);   // from outside
    return 0;
}
static crt_poll mixed_run(void *frame, crt_cx *cx)
{
    mixed *self = frame;
    CRT_BEGIN(self, cx);
    for (self->size = 2; self->size < 20000; self->size += self->size < 700 ? 7 : 6100) {
        CHECK_EQ(crt_spawn_ex(cx, &(crt_task_desc){.fn = pattern_run, .frame = pattern(self->size), .size = self->size,
                                                   .join = &self->h, .priority = (int)self->size % 3 - 1}), 0);
        CRT_AWAIT(crt_join(cx, &self->h, NULL));
        self->tasks++;
    }
    CHECK_EQ(crt_spawn_in(cx, &odd_storage, &self->h, pattern_run, (const odd *)(const void *)pattern(sizeof(odd))), 0);
    CRT_AWAIT(crt_join(cx, &self->h, NULL));
    CHECK_EQ(crt_local_set_spawn(cx, &self->local, pattern_run, (const odd *)(const void *)pattern(sizeof(odd))), 0);
    CRT_AWAIT(crt_local_set_join(cx, &self->local));
    self->tasks += 2;
    for (self->i = 0; self->i < 20; self->i++, self->tasks++)
        CHECK_EQ(crt_join_set_spawn(cx, &self->set, gated_run, &(crt_notify *){&self->gate}), 0);
    CHECK_EQ(crt_spawn_blocking(cx, &self->job, opens, &self->gate), 0);
    while (crt_join_set_len(&self->set)) CRT_AWAIT(crt_join_set_next(cx, &self->set, NULL));
    CRT_AWAIT(crt_join(cx, &self->job, NULL));
    CHECK_EQ(crt_spawn_join(cx, &self->h, gated_run, &(crt_notify *){&self->gate}), 0);
    CRT_YIELD();
    crt_abort(self->h);
    CRT_AWAIT(crt_join(cx, &self->h, NULL));
    self->tasks += 2;   // and this one
    CRT_FINALLY
        crt_join_set_drop(&self->set);
    CRT_END;
}
static void every_wait_is_counted(crt_runtime *rt)
{
    mixed f = {.i = 0};
    int64_t begun = crt__clock();
    spoiled = ran = opened = 0;
    CHECK_EQ(crt_block_on(rt, mixed_run, &f), 0);
    uint64_t elapsed = (uint64_t)(crt__clock() - begun), count = 0, ns = 0;
    crt_runtime_metrics m = metrics(rt);
    CHECK_EQ(spoiled, 0);
    CHECK_EQ(ran, f.tasks - 22);
    CHECK_EQ(m.spawned_tasks_count, f.tasks);
    CHECK_EQ(m.schedule_histogram_count, m.worker_poll_count);
    CHECK(m.schedule_histogram_ns > 0);
    CHECK(m.schedule_histogram_ns <= elapsed * (uint64_t)f.tasks);   // none waited for longer than all took
    for (uint32_t i = 0; i < m.num_workers; i++) {
        crt_worker_metrics w;
        CHECK_EQ(crt_metrics_worker(rt, (int)i, &w), 0);
        CHECK_EQ(w.schedule_histogram_count, w.poll_count);
        count += w.schedule_histogram_count;
        ns += w.schedule_histogram_ns;
    }
    CHECK_EQ(count, m.schedule_histogram_count);
    CHECK_EQ(ns, m.schedule_histogram_ns);
    CHECK_EQ(crt_runtime_config(rt)->schedule_histogram_buckets, 27);
    for (int i = 0; i < 27; i++) {
        crt_histogram_bucket b;
        CHECK_EQ(crt_metrics_schedule_bucket(rt, -1, i, &b), 0);
        count -= b.count;
    }
    CHECK_EQ(count, 0);
}
// What is off costs nothing: no room in the task, no branch of its own.
static crt_poll stride_run(void *frame, crt_cx *cx)
{
    (void)frame;
    CHECK_EQ(cx->task->flags & CRT__TASK_TIMED, cx->rt->task_flags);
    return (crt_poll)cx->task->home->stride;
}
static void off_it_takes_no_memory(void)
{
    crt_poll bytes[2] = {0, 0};
    for (int on = 0; on < 2; on++) {
        crt_runtime *rt = measured((crt_config){.flavor = CRT_CURRENT_THREAD, .schedule_histogram = on});
        void *frame = NULL;
        bytes[on] = crt_block_on(rt, stride_run, &frame);
        CHECK_EQ(rt->watches_polls, on);
        CHECK_EQ(rt->task_flags != 0, on);
        crt_runtime_drop(&rt);
    }
    CHECK_EQ(bytes[0], (sizeof(crt_task) + sizeof(void *) + 15) / 16 * 16);
    CHECK_EQ(bytes[1], (sizeof(crt_task) + sizeof(void *) + sizeof(crt__record) + 15) / 16 * 16);
}

// --- workers that park

typedef struct parks {
    crt_frame co;
    crt_join_handle *job;
    intptr_t seen;
} parks;
// Until every worker sleeps at the same moment; 1: they did.
static intptr_t sees_all_parked(void *rt)
{
    for (int64_t end = crt__clock() + CRT_SEC(30); crt__clock() < end; test_pause_us(100)) {
        crt_worker_metrics w;
        int parked = 0, i = 0;
        for (; crt_metrics_worker(rt, i, &w) == 0; i++) {
            CHECK_EQ(w.park_count, (w.park_unpark_count + 1) / 2);
            parked += w.park_unpark_count & 1;
        }
        crt_runtime_metrics m = metrics(rt);
        if (parked == i && 2 * m.worker_park_count - m.worker_park_unpark_count == m.num_workers) return 1;
    }
    return 0;
}
static void checks_that_it_is_awake(crt_cx *cx)
{
    crt_worker_metrics w;
    CHECK_EQ(crt_metrics_worker(cx->rt, (int)cx->worker->index, &w), 0);
    CHECK_EQ(w.park_unpark_count & 1, 0);
}
static crt_poll parks_run(void *frame, crt_cx *cx)
{
    parks *self = frame;
    CRT_BEGIN(self, cx);
    checks_that_it_is_awake(cx);
    CHECK_EQ(crt_spawn_blocking(cx, &self->job, sees_all_parked, cx->rt), 0);
    CRT_AWAIT(crt_join(cx, &self->job, &self->seen));
    CHECK_EQ(self->seen, 1);
    checks_that_it_is_awake(cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
    checks_that_it_is_awake(cx);
    CRT_END;
}
static void an_odd_count_is_parked(crt_runtime *rt)
{
    CHECK_EQ(crt_block_on(rt, parks_run, &(parks){.seen = 0}), 0);
    crt_runtime_metrics m = metrics(rt);
    CHECK(m.worker_park_unpark_count > 1);
    if (crt_runtime_config(rt)->flavor == CRT_CURRENT_THREAD) CHECK_EQ(m.worker_park_unpark_count & 1, 0);
}

// --- what hooks are told

typedef struct told {
    uint64_t id[64];
    const char *site[64];
    int count, befores, bad;   // atomic
    int timed;
} told;
static told hooked;
static int place_of(uint64_t id)
{
    int n = __atomic_load_n(&hooked.count, __ATOMIC_SEQ_CST);
    for (int i = 0; i < n; i++)
        if (hooked.id[i] == id) return i;
    return -1;
}
static void is_known(const crt_task_meta *m, crt_duration least, crt_duration most)
{
    int at = place_of(m->id);
    if (at < 0 || hooked.site[at] != m->spawned_at || m->schedule_latency < least || m->schedule_latency > most)
        __atomic_fetch_add(&hooked.bad, 1, __ATOMIC_SEQ_CST);
}
// Only one task spawns, and crt_block_on before it runs.
static void told_spawn(void *data, const crt_task_meta *m)
{
    (void)data;
    int n = hooked.count;
    CHECK(n < 64);
    if (n >= 64) return;
    hooked.id[n] = m->id;
    hooked.site[n] = m->spawned_at;
    __atomic_store_n(&hooked.count, n + 1, __ATOMIC_SEQ_CST);
    CHECK_EQ(m->schedule_latency, -1);
}
static void told_before(void *data, const crt_task_meta *m)
{
    (void)data;
    __atomic_fetch_add(&hooked.befores, 1, __ATOMIC_SEQ_CST);
    if (hooked.timed) is_known(m, 0, CRT_SEC(600));
    else is_known(m, -1, -1);
}
static void told_otherwise(void *data, const crt_task_meta *m)
{
    (void)data;
    is_known(m, -1, -1);
}
static void last_site_is(int line)
{
    char want[200];
    snprintf(want, sizeof want, "%s:%d", __FILE__, line);
    const char *got = hooked.count ? hooked.site[hooked.count - 1] : NULL;
    CHECK(got && !strcmp(got, want));
}
#define SPAWNED_HERE(spawn) (CHECK((spawn) == 0), last_site_is(__LINE__))
typedef struct spawns {
    crt_frame co;
    crt_join_handle *h[8];
    crt_abort_handle *abort;
    crt_join_set set;
    crt_join_map map;
    crt_local_set local;
    crt_scope scope;
    crt_task_tracker *tracker;
    crt_handle *handle;
    crt_task_desc how;
    int i;
} spawns;
static crt_poll scoped_run(void *frame, crt_cx *cx)
{
    spawns *self = *(spawns **)frame;
    SPAWNED_HERE(crt_scope_spawn(cx, &self->scope, pattern_run, &(odd){{2}}));
    return 0;
}
static crt_poll spawns_run(void *frame, crt_cx *cx)
{
    spawns *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(hooked.count, 1);   // itself
    CHECK(hooked.site[0] == NULL);
    self->handle = crt_handle_current();
    self->tracker = crt_task_tracker_new();
    SPAWNED_HERE(crt_spawn(cx, pattern_run, &(odd){{2}}));
    SPAWNED_HERE(crt_spawn_join(cx, &self->h[0], pattern_run, &(odd){{2}}));
    SPAWNED_HERE(crt_handle_spawn(self->handle, pattern_run, &(odd){{2}}));
    SPAWNED_HERE(crt_handle_spawn_join(self->handle, &self->h[1], pattern_run, &(odd){{2}}));
    SPAWNED_HERE(crt_spawn_in(cx, &odd_storage, &self->h[2], pattern_run, &(odd){{2}}));
    self->how = (crt_task_desc){.fn = pattern_run, .size = sizeof(odd), .join = &self->h[3]};
    SPAWNED_HERE(crt_spawn_ex(cx, &self->how));
    SPAWNED_HERE(crt_join_set_spawn(cx, &self->set, pattern_run, &(odd){{2}}));
    SPAWNED_HERE(crt_join_set_spawn_on(self->handle, &self->set, pattern_run, &(odd){{2}}));
    SPAWNED_HERE(crt_join_set_spawn_abort(cx, &self->set, &self->abort, pattern_run, &(odd){{2}}));
    SPAWNED_HERE(crt_join_map_spawn(cx, &self->map, 7, pattern_run, &(odd){{2}}));
    SPAWNED_HERE(crt_task_tracker_spawn(cx, self->tracker, pattern_run, &(odd){{2}}));
    SPAWNED_HERE(crt_task_tracker_spawn_join(cx, self->tracker, &self->h[4], pattern_run, &(odd){{2}}));
    SPAWNED_HERE(crt_local_set_spawn(cx, &self->local, pattern_run, &(odd){{2}}));
    SPAWNED_HERE(crt_local_set_spawn_join(cx, &self->local, &self->h[5], pattern_run, &(odd){{2}}));
    if (crt_runtime_config(cx->rt)->flavor == CRT_CURRENT_THREAD) {
        SPAWNED_HERE(crt_spawn_local(cx, pattern_run, &(odd){{2}}));
        SPAWNED_HERE(crt_spawn_local_join(cx, &self->h[6], pattern_run, &(odd){{2}}));
    }
    CRT_AWAIT(crt_scope_run(cx, &self->scope, scoped_run(&(spawns *){self}, cx)));
    for (self->i = 0; self->i < 8; self->i++)
        if (self->h[self->i]) CRT_AWAIT(crt_join(cx, &self->h[self->i], NULL));
    while (crt_join_set_len(&self->set)) CRT_AWAIT(crt_join_set_next(cx, &self->set, NULL));
    while (crt_join_map_len(&self->map)) CRT_AWAIT(crt_join_map_next(cx, &self->map, NULL, NULL));
    CRT_AWAIT(crt_local_set_join(cx, &self->local));
    crt_task_tracker_close(self->tracker);
    CRT_AWAIT(crt_task_tracker_wait(cx, self->tracker));
    CRT_FINALLY
        crt_abort_handle_drop(&self->abort);
        crt_join_set_drop(&self->set);
        crt_join_map_drop(&self->map);
        crt_task_tracker_drop(&self->tracker);
        crt_handle_drop(&self->handle);
    CRT_END;
}
static void hooks_say_where(crt_runtime *rt)
{
    memset(&hooked, 0, sizeof hooked);
    hooked.timed = crt_runtime_config(rt)->schedule_histogram;
    CHECK_EQ(crt_block_on(rt, spawns_run, &(spawns){.i = 0}), 0);
    CHECK_EQ(crt_runtime_shutdown(rt, CRT_FOREVER), 0);
    CHECK(hooked.count >= 16);
    CHECK(hooked.befores >= hooked.count);
    CHECK_EQ(hooked.bad, 0);
}

// --- the text

static void the_text_is_prometheus(void)
{
    for (int scale = CRT_HISTOGRAM_OFF; scale <= CRT_HISTOGRAM_LOG; scale++) {
        int schedule = scale ? CRT_HISTOGRAM_LINEAR + CRT_HISTOGRAM_LOG - scale : CRT_HISTOGRAM_OFF;
        crt_runtime *rt = measured((crt_config){.poll_histogram = scale, .schedule_histogram = schedule});
        crt_handle *h = crt_runtime_handle(rt);
        CHECK_EQ(crt_block_on(rt, busy_run, &(busy){.each = CRT_US(10), .polls = 50}), 0);
        for (int i = 0; i < 8; i++) CHECK_EQ(crt_handle_spawn(h, busy_run, &(busy){.each = CRT_US(20), .polls = 300}), 0);
        static char text[1 << 16];
        for (int i = 0; i < 20; i++) {   // while they run
            int n = crt_metrics_prometheus_text(rt, text, sizeof text);
            CHECK_EQ(n, strlen(text));
            parsed p = parse_copy(text);
            CHECK(!p.bad);
            CHECK_EQ(p.histograms, scale ? 4 : 0);
            CHECK_EQ(p.families, 24 + (scale ? 2 : 0));
        }
        CHECK(strstr(text, "\ncrt_workers 2\n") != NULL);
        CHECK(strstr(text, "\ncrt_worker_polls_total{worker=\"1\"} ") != NULL);
        CHECK(strstr(text, "\ncrt_worker_park_unparks_total{worker=\"1\"} ") != NULL);
        CHECK(!scale == !strstr(text, "\ncrt_worker_schedule_latency_seconds_count{worker=\"1\"} "));
        crt_handle_drop(&h);
        crt_runtime_drop(&rt);
    }
}
static void a_short_buffer_is_cut(void)
{
    crt_runtime *rt = measured((crt_config){.flavor = CRT_CURRENT_THREAD});
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
    crt_runtime *rt = measured((crt_config){.flavor = CRT_CURRENT_THREAD, .poll_histogram = CRT_HISTOGRAM_LOG}), *other;
    crt_histogram_bucket bucket;
    size_t size = crt__tally_bytes(rt, 0);
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
    TEST(a_wait_is_from_the_wake_to_the_poll);
    TEST_ON_EACH_WITH(every_wait_is_counted, .schedule_histogram = CRT_HISTOGRAM_LOG);
    TEST(off_it_takes_no_memory);
    TEST_ON_EACH(an_odd_count_is_parked);
    TEST_ON_EACH_WITH(hooks_say_where, .on_task_spawn = told_spawn, .on_task_terminate = told_otherwise,
                      .on_before_poll = told_before, .on_after_poll = told_otherwise);
    TEST_ON_EACH_WITH(hooks_say_where, .on_task_spawn = told_spawn, .on_task_terminate = told_otherwise,
                      .on_before_poll = told_before, .on_after_poll = told_otherwise,
                      .schedule_histogram = CRT_HISTOGRAM_LOG);
    TEST(the_text_is_prometheus);
    TEST(a_short_buffer_is_cut);
    TEST(what_cannot_be_written_or_counted);
    return test_end();
}
