// model_platform.h - crt.h under the explorer (explore.h), on a made-up machine.
//
// A model_*.c file includes only this. It includes crt.h with the explorer's
// atomics and with a platform on which time stands still, threads are fibers and
// the reactor is a word. The functions under test are those of crt.h, unchanged.
//
// A model is a function that builds the structures it needs (model_runtime,
// model_task) and starts a few threads. Its table entry may name a SEED: one atomic
// operation of crt.h that is to be done wrongly. A seeded model passes if the
// explorer finds the consequence, so each table also proves that its models can fail.
//
//   program                     the budget of the quick suite: about 4 s
//   program seconds=60          more of everything
//   program model=... replay=...   one execution, as a failure prints it
//   program mutate 2 "|31 load x|"   each order of crt.h relaxed in turn, 2 s of the processor at most for each; not that one
//   MODEL_DEPTH=3 MODEL_BUDGET=60 program   three preemptions instead of two, 60 s
//   MODEL_WHOLE=600 program     every schedule with at most two preemptions (or MODEL_DEPTH), whatever it takes;
//                               a model that needs longer than 600 s fails
//
// Plain accesses of crt.h are not visible to the explorer, only atomic ones are. Built as
//   gcc -fsanitize=thread -DMODEL_RACES -c tests/model_x.c && gcc model_x.o
// (compiled for the thread sanitizer, but linked without it) they are: what the compiler
// reports goes to the explorer's race detector and heap, for the structures of the model.
//
// The header is included three times: by the model, by crt.h for the atomics, and by
// crt.h for the platform.
#if !defined(MODEL_PLATFORM_H)
#define MODEL_PLATFORM_H

// The explorer switches stacks behind the sanitizers' backs; they only get in the way.
#if defined(MODEL_RACES)
// the hooks below take the sanitizer's place
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MODEL_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MODEL_SANITIZED 1
#endif
#endif

// Small, so that few steps fill them.
#ifndef CRT__RING
#define CRT__RING 4
#endif
#ifndef CRT__LOCK_SPINS
#define CRT__LOCK_SPINS 1
#endif
#define crt__nap() crt__cpu_relax()
#define CRT_ATOMICS_HEADER "model_platform.h"
#define CRT_PLATFORM_HEADER "model_platform.h"
#define CRT_MALLOC(size) ex_malloc(size)
#define CRT_FREE(pointer) ex_free(pointer)
#define CRT_ASSERT(condition) EX_ASSERT(condition)
#define CRT_IMPLEMENTATION
#include "crt.h"

#define MODEL_API static __attribute__((unused))
#define RELAXED CRT__RELAXED
#define ACQUIRE CRT__ACQUIRE
#define RELEASE CRT__RELEASE
#define ACQ_REL CRT__ACQ_REL
#define SEQ_CST CRT__SEQ_CST

// ---------------------------------------------------------------------------
// a runtime by hand
// ---------------------------------------------------------------------------

enum { MODEL_WORKERS = 3, MODEL_REFS = 100 };
static crt_runtime rt;
static crt__worker workers[MODEL_WORKERS];
static crt__ring rings[MODEL_WORKERS];
static uint32_t sleepers[MODEL_WORKERS];
static crt__reactor reactor;
static int logged;   // lines that reached the log

static void model_log(int level, const char *text, void *data)
{
    (void)level, (void)text, (void)data;
    logged++;
}

// With one worker: current thread, no ring.
MODEL_API void model_runtime(uint32_t count)
{
    memset(&rt, 0, sizeof rt);
    memset(workers, 0, sizeof workers[0] * count);
    memset(&reactor, 0, sizeof reactor);
    // What is static too: an execution may have been given up anywhere, with a lock held.
    memset(&crt__signals, 0, sizeof crt__signals);
    memset(&crt__children, 0, sizeof crt__children);
    logged = 0;
    model_now = 0;
    model_start_fails = model_start_may_fail = false;
    rt.refs = 2;   // its own and the user's
    rt.config.flavor = count > 1 ? CRT_MULTI_THREAD : CRT_CURRENT_THREAD;
    rt.config.drivers = CRT_DRIVER_IO | CRT_DRIVER_TIME;
    rt.config.event_interval = 61;
    rt.config.log.func = model_log;
    rt.workers = workers;
    rt.worker_count = count;
    rt.reactor = &reactor;
    rt.idle.sleepers = sleepers;
    crt__idle_init(&rt);
    crt__inject_init(&rt.inject);
    crt__inject_init(&rt.urgent);
    crt__inject_init(&rt.background);
    crt__inject_init(&rt.pool.queue);
    for (uint32_t i = 0; i < count; i++) {
        crt__worker *w = &workers[i];
        w->rt = &rt;
        w->index = i;
        w->rng = i + 1;
        w->inject_interval = 61;
        w->next_id = 1 + 100 * i;
        w->last_id = w->next_id + 100;
        w->wheel.next = UINT64_MAX;
        if (count > 1) w->ring = memset(&rings[i], 0, sizeof rings[i]);
    }
    ex_thread_local(&crt__tls, sizeof crt__tls);
}

// A task in a block of the explorer's heap: NOTIFIED, not queued anywhere.
MODEL_API crt_task *model_task(crt_fn fn, const void *frame, size_t size, bool join)
{
    crt__chunk shape = {&rt, NULL, NULL, CRT__CLASS_LARGE, (uint32_t)((sizeof(crt_task) + size + 15) / 16 * 16), 1, 1};
    crt__chunk *chunk = ex_calloc(1, crt__chunk_bytes(&shape));
    *chunk = shape;
    crt__chunk_link(&rt, chunk);
    crt_task *t = crt__chunk_task(chunk, 0);
    t->home = chunk;
    crt__task_init(t, &workers[0], fn, frame, size, 0);
    crt__task_publish(t, join, 0);
    return t;
}
MODEL_API crt_join_handle *model_handle(crt_task *t) { return (crt_join_handle *)t; }

// What crt__enter does, as far as models need it.
MODEL_API void model_enter(crt__worker *w, crt_cx *cx)
{
    crt__tls.rt = &rt;
    crt__tls.worker = w;
    crt__tls.in_task = 0;
    memset(cx, 0, sizeof *cx);
    cx->rt = &rt;
    cx->worker = w;
    cx->budget = CRT__BUDGET;
    w->cx = cx;
}
// A poll of something that is not a task of a worker: leaves of a task that is driven by hand.
MODEL_API void model_poll_begin(crt_cx *cx, crt_task *t)
{
    cx->task = t;
    cx->slot = &t->u.slot;
    cx->budget = CRT__BUDGET;
    cx->unwind = 0;
    cx->deferred = 0;
}

// Sleeps on the park word until crt__unpark.
MODEL_API void model_park(crt__worker *w)
{
    uint32_t empty = CRT__EMPTY;
    if (crt__atomic_cas(&w->park, &empty, CRT__PARKED, CRT__SEQ_CST, CRT__SEQ_CST))
        while (crt__atomic_load(&w->park, CRT__ACQUIRE) == CRT__PARKED)
            crt__futex_wait(&w->park, CRT__PARKED, -1);
    crt__atomic_xchg(&w->park, CRT__EMPTY, CRT__SEQ_CST);
}
// Runs what worker 0 (current thread) is given until `count` tasks have ended.
MODEL_API void model_run_until(crt__worker *w, uint64_t count)
{
    crt_cx cx;
    bool from_lifo;
    model_enter(w, &cx);
    while (w->completed < count) {
        crt_task *t = crt__next_task(w, &from_lifo);
        cx.budget = CRT__BUDGET;
        if (t) crt__run_task(w, &cx, t);
        else if (w->deferred.head) crt__release_deferred(w);
        else model_park(w);
    }
    w->cx = NULL;
}

// The threads of the pool have ended.
MODEL_API void model_pool_ends(void)
{
    uint32_t n;
    while ((n = crt__atomic_load(&rt.pool.alive, ACQUIRE)) != 0) crt__futex_wait(&rt.pool.alive, n, -1);
}
// The tasks of jobs live in chunks of the runtime; each is free, once.
MODEL_API void model_pool_finish(void)
{
    model_pool_ends();
    EX_ASSERT(rt.pool.outstanding == 0 && crt__inject_length(&rt.pool.queue) == 0);
    for (crt__chunk *c = rt.chunks, *next; c; c = next) {
        for (uint32_t i = 0; i < c->carved; i++) EX_ASSERT(crt__chunk_task(c, i)->state == 0);
        next = c->next;
        ex_free(c);
    }
}
// A task that worker 0 (current thread) finds in its queue. `join` may be NULL.
MODEL_API crt_task *model_start(crt_fn fn, const void *frame, size_t size, crt_join_handle **join)
{
    crt_task *t = model_task(fn, frame, size, join != NULL);
    if (join) *join = model_handle(t);
    crt__list_push(&workers[0].fifo, t);
    return t;
}

// --- a wait without a scheduler
// A thread that polls by hand, as crt__block_thread does, but step by step: between two
// polls the model may give the wait up, as an abort or a lost select does. The memory
// goes with model_hand_free, so whoever touches the waiter after its wait is found.
typedef struct model_hand {
    crt__thread_task me;
    crt_cx cx;
} model_hand;

MODEL_API model_hand *model_hand_new(void)
{
    model_hand *h = ex_calloc(1, sizeof *h);
    h->me.task.state = CRT__REF | CRT__ACTIVE;
    h->me.task.flags = CRT__TASK_THREAD;
    h->cx.task = &h->me.task;
    h->cx.slot = &h->me.task.u.slot;
    h->cx.unconstrained = 1;
    h->cx.rt = &rt;
    return h;
}
MODEL_API void model_hand_sleep(model_hand *h)
{
    uint32_t s = crt__atomic_sub(&h->me.task.state, CRT__ACTIVE, CRT__ACQ_REL);
    if (!(s & CRT__NOTIFIED))
        while (!crt__atomic_load(&h->me.word, CRT__ACQUIRE)) crt__futex_wait(&h->me.word, 0, -1);
    crt__atomic_store(&h->me.word, 0, CRT__RELAXED);
    (void)crt__task_begin(&h->me.task);
}
MODEL_API void model_hand_free(model_hand *h)
{
    while (crt__atomic_load(&h->me.task.state, CRT__ACQUIRE) / CRT__REF != 1) crt__cpu_relax();
    ex_free(h);
}
// The result of an expression over h->cx, however long it takes.
#define MODEL_AWAIT(h, r, ...) while (((r) = (__VA_ARGS__)) == CRT_PENDING) model_hand_sleep(h)
// Polls it once; if it is not ready the wait is given up. CRT_UNWIND, or the result.
#define MODEL_TRY(h, r, ...) \
    do {                                              \
        if (((r) = (__VA_ARGS__)) != CRT_PENDING) break; \
        (h)->cx.unwind = 1;                           \
        (r) = (__VA_ARGS__);                          \
    } while (0)
// Gives up a wait that was begun before.
#define MODEL_GIVE_UP(h, r, ...) ((h)->cx.unwind = 1, (r) = (__VA_ARGS__))

// ---------------------------------------------------------------------------
// plain accesses, as the compiler reports them
// ---------------------------------------------------------------------------

#ifdef MODEL_RACES
#define MODEL_BARE __attribute__((no_sanitize("thread"), used, noinline))
static bool model_busy;   // what the explorer itself does is not looked at
static struct {
    const char *begin, *end;
} model_watched[16];
static int model_watches;

MODEL_BARE static void model_watch(const void *p, size_t size)
{
    for (int i = 0; i < model_watches; i++)
        if (model_watched[i].begin == (const char *)p) return;
    model_watched[model_watches].begin = p;
    model_watched[model_watches++].end = (const char *)p + size;
}
MODEL_BARE static bool model_is_watched(const void *p)
{
    for (int i = 0; i < EX_MAX_THREADS; i++) {
        const char *heap = ex.heaps[i].memory;
        if (heap && (const char *)p >= heap && (const char *)p < heap + EX_HEAP_SIZE) return true;
    }
    for (int i = 0; i < model_watches; i++)
        if ((const char *)p >= model_watched[i].begin && (const char *)p < model_watched[i].end) return true;
    return false;
}
MODEL_BARE static void model_plain(const void *p, size_t size, bool write, const void *pc)
{
    static char site[64];
    if (model_busy || !ex.running || !model_is_watched(p)) return;
    model_busy = true;
    snprintf(site, sizeof site, "plain at %p (addr2line)", (const void *)((const char *)pc - 1));
    if (!write) ex_plain_read(p, size, site);
    // A value that stays is no news; forgetting the history would only blind the explorer.
    else ex_access_memory(p, (uint32_t)size, EX_PLAIN_WRITE, site);
    model_busy = false;
}
#define MODEL_HOOK(n)                                                                      \
    MODEL_BARE void __tsan_read##n(void *p) { model_plain(p, n, false, __builtin_return_address(0)); } \
    MODEL_BARE void __tsan_write##n(void *p) { model_plain(p, n, true, __builtin_return_address(0)); }
MODEL_HOOK(1) MODEL_HOOK(2) MODEL_HOOK(4) MODEL_HOOK(8) MODEL_HOOK(16)
#define MODEL_HOOK_UNALIGNED(n)                                                            \
    MODEL_BARE void __tsan_unaligned_read##n(void *p) { model_plain(p, n, false, __builtin_return_address(0)); } \
    MODEL_BARE void __tsan_unaligned_write##n(void *p) { model_plain(p, n, true, __builtin_return_address(0)); }
MODEL_HOOK_UNALIGNED(2) MODEL_HOOK_UNALIGNED(4) MODEL_HOOK_UNALIGNED(8) MODEL_HOOK_UNALIGNED(16)
MODEL_BARE void __tsan_init(void) {}
MODEL_BARE void __tsan_func_entry(void *pc) { (void)pc; }
MODEL_BARE void __tsan_func_exit(void) {}
MODEL_BARE void __tsan_read_range(void *p, size_t n) { (void)p, (void)n; }
MODEL_BARE void __tsan_write_range(void *p, size_t n) { (void)p, (void)n; }
// The explorer's own atomics, and those of crt.h through it.
#define MODEL_HOOK_ATOMIC(n, type)                                                         \
    MODEL_BARE type __tsan_atomic##n##_load(const type *p, int order) { return (void)order, *(volatile const type *)p; } \
    MODEL_BARE void __tsan_atomic##n##_store(type *p, type v, int order) { (void)order, *(volatile type *)p = v; } \
    MODEL_BARE int __tsan_atomic##n##_compare_exchange_strong(type *p, type *e, type v, int a, int b) \
    {                                                                                      \
        type old = *p;                                                                     \
        (void)a, (void)b;                                                                  \
        if (old == *e) *p = v;                                                             \
        bool same = old == *e;                                                             \
        *e = old;                                                                          \
        return same;                                                                       \
    }
MODEL_HOOK_ATOMIC(8, uint8_t) MODEL_HOOK_ATOMIC(16, uint16_t) MODEL_HOOK_ATOMIC(32, uint32_t) MODEL_HOOK_ATOMIC(64, uint64_t)
MODEL_BARE void __tsan_atomic_thread_fence(int order) { (void)order; }
#else
#define model_watch(p, size) ((void)0)
#endif

// ---------------------------------------------------------------------------
// the table and main
// ---------------------------------------------------------------------------

typedef struct model {
    const char *name;
    void (*run)(void);
    model_seed seed;       // .func set: the explorer must find this
    bool must_fail;        // a bug seeded by the model itself
    int timeouts, spurious_wakes, spurious_cas;
} model;

static const model *model_table;
static int model_count;

static void model_entry(void)
{
#ifdef MODEL_RACES
    model_busy = false;   // an execution that failed may have left it set
    model_watch(&rt, sizeof rt);
    model_watch(workers, sizeof workers);
    model_watch(rings, sizeof rings);
    model_watch(sleepers, sizeof sleepers);
#endif
    for (int i = 0; i < model_count; i++)
        if (model_table[i].name == ex.model_name) {
            model_seeded = model_table[i].seed.func ? &model_table[i].seed : NULL;
            model_table[i].run();
        }
}

#ifndef MODEL_SECONDS   // for all models of a program
#ifdef MODEL_RACES
#define MODEL_SECONDS 15.0
#else
#define MODEL_SECONDS 3.5
#endif
#endif

typedef struct model_preset {
    ex_strategy strategy;
    bool weak_memory;
    int preemption_bound;
    double share;   // of the time that a model has
} model_preset;
static const model_preset model_presets[] = {
    {EX_RANDOM, true, -1, 0.15},
    {EX_PCT, true, -1, 0.15},
    {EX_DFS, false, 2, 0.45},
    {EX_DPOR, true, -1, 0.25},
};

// MODEL_DEPTH=3 in the environment: three preemptions instead of two. MODEL_BUDGET: seconds for the program.
static int model_bound(const model_preset *p)
{
    const char *depth = getenv("MODEL_DEPTH");
    return p->preemption_bound < 0 || !depth ? p->preemption_bound : atoi(depth);
}
static double model_budget(void)
{
    const char *seconds = getenv("MODEL_BUDGET");
    return seconds ? atof(seconds) : MODEL_SECONDS;
}

static ex_config model_config(const ex_model *m, ex_strategy strategy, bool weak_memory, double seconds)
{
    ex_config config = ex_default_config();
    config.verbose = 0;
    config.strategy = strategy;
    config.weak_memory = weak_memory;
    config.max_seconds = seconds;
    config.timeouts = m->timeouts ? m->timeouts : config.timeouts;
    config.spurious_wakes = m->spurious_wakes;
    config.spurious_cas = m->spurious_cas;
    return config;
}

static unsigned long long model_schedules;   // of the models without a seed
static int model_complete;                   // of which every schedule within the bound, or by DPOR, was seen

static bool model_check(const ex_model *m, double seconds)
{
    bool found = false, clean = true, complete = false;
    printf("%-58s", m->name);
    const size_t presets = sizeof model_presets / sizeof model_presets[0];
    for (size_t i = 0; i < presets * (m->expect_failure ? 2 : 1) && clean && !found; i++) {
        const model_preset *p = &model_presets[i % presets];
        // A seed is looked for by count, so that a slow machine finds it too: briefly in each way, as it is
        // found in most, then for long.
        double time = m->expect_failure ? 20 : seconds > 0.1 ? seconds * p->share : 0.1 * p->share;   // 0 is no limit
        ex_config config = model_config(m, p->strategy, p->weak_memory, time);
        config.preemption_bound = model_bound(p);
        config.max_executions = !m->expect_failure ? 0 : i < presets ? 1000 : 50000;
        ex_result r = ex_run(m->name, config, m->run);
        found = r.failed;
        clean = m->expect_failure || !r.failed;
        complete |= !r.failed && r.exhausted && (p->strategy == EX_DFS || p->strategy == EX_DPOR);
        if (!m->expect_failure) model_schedules += r.executions;
        if (!m->expect_failure || r.failed)
            printf(" %s%s %llu%s", ex_strategy_name[p->strategy], p->weak_memory ? "/weak" : "",
                   (unsigned long long)r.executions, r.failed ? " found" : r.exhausted ? " all" : "");
        if (!clean) {
            printf("\n");
            ex_print_failure(&r);
        } else if (r.failed) {
            printf(": %.90s", r.message);
        }
        fflush(stdout);
    }
    if (!m->expect_failure) model_complete += complete;
    if (m->expect_failure && !found) printf(" FAIL: the seeded bug was not found");
    printf("\n");
    return m->expect_failure ? found : clean;
}

// MODEL_WHOLE: is every schedule within the bound free of failures?
static bool model_check_whole(const ex_model *m, double seconds)
{
    ex_config config = model_config(m, EX_DFS, false, seconds);
    config.preemption_bound = model_bound(&(model_preset){.preemption_bound = 2});
    ex_result r = ex_run(m->name, config, m->run);
    printf("%-58s %d preemptions: %llu %s, %.1f s\n", m->name, config.preemption_bound, (unsigned long long)r.executions,
           r.failed ? "FAIL" : r.exhausted ? "all" : "FAIL: not all of them", r.seconds);
    if (r.failed) ex_print_failure(&r);
    fflush(stdout);
    model_schedules += r.executions;
    model_complete += r.exhausted;
    return !r.failed && r.exhausted;
}

// Each place where crt.h asks for an order gets none, one after the other, in the models that come there
// (tests/mutate_orders.sh). A line for each: where, and the model that noticed, or nobody.
static ex_result model_try(const ex_model *m, ex_strategy strategy, double seconds, uint64_t executions)
{
    ex_config config = model_config(m, strategy, true, seconds);
    config.max_executions = executions;
    return ex_run(m->name, config, m->run);
}
static bool model_goes(const ex_model *m, int k, const model_place *p, const char *only)
{
    return !m->expect_failure && (p->in[k / 8] >> k % 8 & 1) && (!only || strstr(m->name, only));
}
static int model_mutate(const ex_model *list, int count, double seconds, const char *killed)
{
    const char *place = getenv("PLACE"), *only = getenv("MODEL");   // "function: operation"; part of a name
    static const ex_strategy strategies[] = {EX_RANDOM, EX_PCT, EX_DPOR};
    ex_budget_clock = CLOCK_PROCESS_CPUTIME_ID;
    model_collects = true;
    for (model_present = 0; model_present < count; model_present++) {
        if (list[model_present].expect_failure) continue;
        model_try(&list[model_present], EX_RANDOM, 20, 100);
        model_try(&list[model_present], EX_PCT, 20, 100);
    }
    model_collects = false;
    for (int i = 0; i < model_place_count; i++) {
        const model_place *p = &model_places[i];
        const char *by = NULL, *why = "";
        int here = 0;
        ex_result r = {0};
        for (int k = 0; k < count; k++) here += model_goes(&list[k], k, p, only);
        char mark[160];
        if (!strstr(p->site, "crt.h:")) continue;   // a model's own
        snprintf(mark, sizeof mark, "%s: %s", p->func, p->text);
        if (place && strcmp(mark, place)) continue;
        snprintf(mark, sizeof mark, "|%d %s|", atoi(strstr(p->site, "crt.h:") + 6), p->text);
        if (killed && strstr(killed, mark)) continue;   // by another program
        model_weakened = p->site;
        for (int s = 0; s < 3 && !by; s++)
            for (int k = 0; k < count && !by; k++) {
                if (!model_goes(&list[k], k, p, only)) continue;
                r = model_try(&list[k], strategies[s], seconds / 3 / here, 0);
                if (r.failed) by = list[k].name, why = r.message;
            }
        model_weakened = NULL;
        printf("place\t%d\t%s\t%s\t%s\t%.80s\n", atoi(strstr(p->site, "crt.h:") + 6), p->func, p->text, by ? by : "-", why);
        fflush(stdout);
    }
    return 0;
}

// Code that went wrong may follow a wild pointer: a failure like any other.
static void model_crash(int number)
{
    if (ex.running) ex_fail("crash by T%d: signal %d", ex.current, number);
    signal(number, SIG_DFL);
    raise(number);
}

MODEL_API int model_main(int argc, char **argv, const model *table, int count)
{
    static ex_model list[96];
    int passed = 0, failed = 0, clean = 0, seeds = 0;
    struct sigaction crash = {.sa_handler = model_crash, .sa_flags = SA_NODEFER};
    sigaction(SIGSEGV, &crash, NULL);
    sigaction(SIGBUS, &crash, NULL);
    ex.program = argv[0];
    model_table = table;
    model_count = count;
    for (int i = 0; i < count; i++) {
        const model *m = &table[i];
        bool seeded = m->seed.func || m->must_fail;
        list[i] = (ex_model){m->name, model_entry, seeded, m->timeouts, m->spurious_wakes, m->spurious_cas, 0};
        clean += !seeded;
        seeds += seeded;
    }
    if (argc > 1 && strcmp(argv[1], "mutate") == 0) return model_mutate(list, count, argc > 2 ? atof(argv[2]) : 1, argc > 3 ? argv[3] : NULL);
    if (argc > 1) return ex_main(argc, argv, list, count);
#ifdef MODEL_SANITIZED
    printf("the explorer does not run under this sanitizer\n");
    count = seeds = 0;
#endif
    // Each model gets its share of what is left; who is through early leaves more to the others.
    const char *whole = getenv("MODEL_WHOLE");
    double left = model_budget();
    if (whole) seeds = 0;
    for (int i = 0; i < count; i++) {
        double begun = ex_seconds();
        if (whole && list[i].expect_failure) continue;
        if (whole ? model_check_whole(&list[i], atof(whole)) : model_check(&list[i], clean ? left / clean : 0)) passed++;
        else failed++;
        if (list[i].expect_failure) continue;
        left -= ex_seconds() - begun;
        clean--;
    }
    printf("%llu schedules of %d models, %d of them complete; %d seeded bugs\n", model_schedules, passed + failed - seeds, model_complete, seeds);
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
#define MODEL_MAIN(table) \
    int main(int argc, char **argv) { return model_main(argc, argv, table, (int)(sizeof(table) / sizeof(table)[0])); }

#elif !defined(MODEL_ATOMICS)
#define MODEL_ATOMICS
// ---------------------------------------------------------------------------
// from >>atomics: the explorer's operations, with seeds
// ---------------------------------------------------------------------------
#include <pthread.h>
#include <time.h>
#include "explore.h"

typedef enum model_mistake {
    MODEL_RELAX = 1,   // the operation has relaxed order
    MODEL_SKIP,        // it is not done; a read-modify-write still reads, a cas "succeeds"
    MODEL_SPLIT,       // a read-modify-write is a load and then a store
    MODEL_VALUE        // a load sees `value`
} model_mistake;

typedef struct model_seed {
    const char *func, *text;   // in which function, which ones: part of "xchg &q->tail", NULL for all
    model_mistake mistake;
    uint64_t value;
    const void *address;       // NULL: any
    int thread;                // 1 + the thread that does it wrongly; 0: all
} model_seed;

static const model_seed *model_seeded;

// Where crt.h asks for more than relaxed order, and which models come there: `program mutate` weakens one
// after the other.
typedef struct model_place {
    const char *func, *text, *site;
    int order;
    unsigned char in[12];   // bit i: model i comes here
} model_place;
enum { MODEL_PLACES = 1024 };
static model_place model_places[MODEL_PLACES];
static int model_place_count, model_present;   // model_present: the model that runs
static bool model_collects;
static const char *model_weakened;             // the place that is relaxed
static void model_collect(const char *func, const char *text, const char *site, int order)
{
    int i = 0;
    if (order == __ATOMIC_RELAXED || !ex.running) return;
    while (i < model_place_count && (model_places[i].site != site || model_places[i].func != func)) i++;
    if (i == MODEL_PLACES) abort();
    if (i == model_place_count) model_places[model_place_count++] = (model_place){func, text, site, order, {0}};
    model_places[i].in[model_present / 8] |= (unsigned char)(1 << model_present % 8);
}

static inline model_mistake model_mistaken(const char *func, const char *text, const char *site, int order,
                                           const void *address)
{
    const model_seed *s = model_seeded;
    if (model_collects) model_collect(func, text, site, order);
    if (model_weakened == site) return MODEL_RELAX;
    if (!s || !ex.running || (s->thread && s->thread - 1 != ex.current)) return (model_mistake)0;
    // A lock that is not taken is not let go either.
    if (strcmp(func, "crt__unlock") == 0 && s->mistake == MODEL_SKIP) func = "crt__lock";
    if (strcmp(s->func, func) != 0) return (model_mistake)0;
    if (s->text && !strstr(text, s->text)) return (model_mistake)0;
    if (s->address && s->address != address) return (model_mistake)0;
    return s->mistake;
}
static inline uint64_t model_load(const void *p, uint32_t size, int order, const char *func,
                                  const char *text, const char *site)
{
    model_mistake m = model_mistaken(func, text, site, order, p);
    if (m == MODEL_VALUE) return model_seeded->value;
    return ex_load(p, size, m == MODEL_RELAX ? __ATOMIC_RELAXED : order, site);
}
static inline void model_store(void *p, uint32_t size, uint64_t v, int order, const char *func,
                               const char *text, const char *site)
{
    model_mistake m = model_mistaken(func, text, site, order, p);
    if (m != MODEL_SKIP) ex_store_value(p, size, v, m == MODEL_RELAX ? __ATOMIC_RELAXED : order, site);
}
static inline uint64_t model_rmw(void *p, uint32_t size, ex_rmw_kind kind, uint64_t v, int order,
                                 const char *func, const char *text, const char *site)
{
    model_mistake m = model_mistaken(func, text, site, order, p);
    if (m == MODEL_SKIP) return ex_load(p, size, __ATOMIC_ACQUIRE, site);
    if (m == MODEL_SPLIT) {
        uint64_t old = ex_load(p, size, __ATOMIC_ACQUIRE, site);
        ex_store_value(p, size, ex_cut(ex_combine(kind, old, v), size), __ATOMIC_RELEASE, site);
        return old;
    }
    return ex_rmw(p, size, kind, v, m == MODEL_RELAX ? __ATOMIC_RELAXED : order, site);
}
static inline bool model_cas(void *p, void *expected, uint32_t size, uint64_t desired, int order, int order_failed,
                             bool weak, const char *func, const char *text, const char *site)
{
    model_mistake m = model_mistaken(func, text, site, order, p);
    if (m == MODEL_SKIP) return ex_load(p, size, __ATOMIC_RELAXED, site), true;   // others may go first
    if (m == MODEL_RELAX) order = order_failed = __ATOMIC_RELAXED;
    if (m == MODEL_SPLIT) {
        uint64_t old = ex_load(p, size, __ATOMIC_ACQUIRE, site);
        bool same = old == ex_raw_load(expected, size);
        ex_raw_store(expected, size, old);
        if (same) ex_store_value(p, size, ex_cut(desired, size), __ATOMIC_RELEASE, site);
        return same;
    }
    return ex_cas(p, expected, size, desired, order, order_failed, weak, site);
}
static inline void model_fence(int order, const char *func, const char *site)
{
    if (!model_mistaken(func, "fence", site, order, NULL)) ex_fence(order, site);
}

#undef crt__atomic_load
#undef crt__atomic_store
#undef crt__atomic_xchg
#undef crt__atomic_add
#undef crt__atomic_sub
#undef crt__atomic_or
#undef crt__atomic_and
#undef crt__atomic_cas
#undef crt__atomic_cas_weak
#undef crt__atomic_fence
#define MODEL_RMW(p, kind, v, order, what) \
    EX_AS_TYPE_OF(p, model_rmw((p), sizeof *(p), (kind), EX_VALUE(v), (order), __func__, what #p, EX_SITE(#p)))
#define crt__atomic_load(p, order) \
    EX_AS_TYPE_OF(p, model_load((p), sizeof *(p), (order), __func__, "load " #p, EX_SITE(#p)))
#define crt__atomic_store(p, v, order) \
    model_store((p), sizeof *(p), EX_VALUE(v), (order), __func__, "store " #p, EX_SITE(#p))
#define crt__atomic_xchg(p, v, order) MODEL_RMW(p, EX_XCHG, v, order, "xchg ")
#define crt__atomic_add(p, v, order) MODEL_RMW(p, EX_ADD, v, order, "add ")
#define crt__atomic_sub(p, v, order) MODEL_RMW(p, EX_SUB, v, order, "sub ")
#define crt__atomic_or(p, v, order) MODEL_RMW(p, EX_OR, v, order, "or ")
#define crt__atomic_and(p, v, order) MODEL_RMW(p, EX_AND, v, order, "and ")
#define crt__atomic_cas(p, expected, desired, ok, fail) \
    model_cas((p), (expected), sizeof *(p), EX_VALUE(desired), (ok), (fail), false, __func__, "cas " #p, EX_SITE(#p))
#define crt__atomic_cas_weak(p, expected, desired, ok, fail) \
    model_cas((p), (expected), sizeof *(p), EX_VALUE(desired), (ok), (fail), true, __func__, "cas " #p, EX_SITE(#p))
#define crt__atomic_fence(order) model_fence((order), __func__, EX_SITE("fence"))

// Time stands still unless the model, or a wait whose time is up, moves it on.
static int64_t model_now;   // nanoseconds
static inline int model_clock_gettime(struct timespec *t)
{
    t->tv_sec = (time_t)(model_now / 1000000000);
    t->tv_nsec = (long)(model_now % 1000000000);
    return 0;
}
#define clock_gettime(clock, t) model_clock_gettime(t)

// Threads that crt.h starts are fibers.
typedef struct model_thread {
    void *(*fn)(void *);
    void *arg;
} model_thread;
static model_thread model_threads[EX_MAX_THREADS + 1];
static bool model_start_fails;      // no thread can be started
static bool model_start_may_fail;   // or this one cannot
static void model_thread_main(void *arg)
{
    model_thread *t = arg;
    t->fn(t->arg);
}
static inline int model_thread_create(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    model_thread *t = &model_threads[ex.thread_count];
    if (model_start_fails || (model_start_may_fail && ex_choose(2))) return EAGAIN;
    *t = (model_thread){fn, arg};
    *thread = (pthread_t)ex_spawn(model_thread_main, t);
    return 0;
}
#define pthread_create(thread, attr, fn, arg) model_thread_create((thread), (fn), (arg))
#define pthread_join(thread, result) ex_join((int)(thread))
#define pthread_detach(thread) ((void)(thread))
#define pthread_self() ((pthread_t)ex_self())

#elif !defined(MODEL_REACTOR)
#define MODEL_REACTOR
// ---------------------------------------------------------------------------
// from >>reactor: the real platform header, but its reactor and its sockets
// ---------------------------------------------------------------------------
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#define crt__reactor model_real_reactor
#define crt__reactor_add model_real_add
#define crt__reactor_add_priority model_real_add_priority
#define crt__reactor_remove model_real_remove
#define crt__reactor_wait model_real_wait
#define crt__reactor_wake model_real_wake
#define crt__reactor_fd model_real_fd
#define crt__reactor_new model_real_new
#define crt__reactor_free model_real_free
#define crt__fd_close model_real_close
#define crt__thread_set_name model_real_set_name
#define crt__sock_recv model_real_recv
#define crt__sock_send model_real_send
typedef struct model_real_reactor model_real_reactor;
static void model_real_free(crt_runtime *runtime, model_real_reactor *r);
#include CRT__SYSTEM_HEADER
#undef crt__reactor
#undef crt__reactor_add
#undef crt__reactor_add_priority
#undef crt__reactor_remove
#undef crt__reactor_wait
#undef crt__reactor_wake
#undef crt__reactor_fd
#undef crt__reactor_new
#undef crt__reactor_free
#undef crt__fd_close
#undef crt__thread_set_name
#undef crt__sock_recv
#undef crt__sock_send
#pragma GCC diagnostic pop

static void crt__thread_set_name(const char *name) { (void)name; }   // a fiber has none

// One word stands for everything that makes the kernel return.
struct crt__reactor {
    uint32_t signal;   // atomic futex word
    int waits;         // how often somebody waited
    int (*events)(crt_runtime *runtime);   // the model's: delivers what there is
    intptr_t (*recv)(void *buf, size_t n);
    void (*closed)(crt__fd fd);
};
static crt__reactor *model_reactor;   // for the calls that do not name it

static int crt__reactor_add(crt__reactor *r, crt__fd fd, uint64_t token)
{
    (void)r, (void)fd, (void)token;
    return 0;
}
static int crt__reactor_add_priority(crt__reactor *r, crt__fd fd, uint64_t token)
{
    return crt__reactor_add(r, fd, token);
}
static void crt__reactor_remove(crt__reactor *r, crt__fd fd, uint64_t token) { (void)r, (void)fd, (void)token; }
static int crt__reactor_wait(crt__reactor *r, crt_runtime *runtime, int64_t timeout_ns)
{
    r->waits++;
    // A wait whose time is up has taken that long.
    if (timeout_ns && crt__futex_wait(&r->signal, 0, timeout_ns) && timeout_ns > 0) model_now += timeout_ns;
    crt__atomic_xchg(&r->signal, 0, CRT__ACQ_REL);
    return r->events ? r->events(runtime) : 0;
}
static void crt__reactor_wake(crt__reactor *r)
{
    crt__atomic_xchg(&r->signal, 1, CRT__ACQ_REL);
    crt__futex_wake(&r->signal, 1);
}
static crt__fd crt__reactor_fd(crt__reactor *r) { return r ? 0 : -1; }
static crt__reactor *crt__reactor_new(crt_runtime *runtime, int max_events, int *error)
{
    (void)runtime, (void)max_events, (void)error;
    return model_reactor;
}
static void crt__reactor_free(crt_runtime *runtime, crt__reactor *r) { (void)runtime, (void)r; }
static void crt__fd_close(crt__fd fd)
{
    if (model_reactor && model_reactor->closed) model_reactor->closed(fd);
}
static intptr_t crt__sock_recv(crt__fd fd, void *buf, size_t n)
{
    (void)fd;
    return model_reactor->recv(buf, n);
}
static intptr_t crt__sock_send(crt__fd fd, const void *buf, size_t n)
{
    (void)fd, (void)buf;
    return (intptr_t)n;
}
#endif
