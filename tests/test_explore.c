/* test_explore.c - does the explorer find what it has to find, and nothing else?
 *
 * 1. Litmus tests: small shapes for which C11 says which outcomes are possible.
 * 2. All depth-first strategies must see the same set of outcomes, also of random programs.
 * 3. Each detector must report its kind of error.
 * 4. The cores of a runtime, in a correct version and with seeded bugs.
 */
#include "explore.h"

#define RELAXED CRT__RELAXED
#define ACQUIRE CRT__ACQUIRE
#define RELEASE CRT__RELEASE
#define ACQ_REL CRT__ACQ_REL
#define SEQ_CST CRT__SEQ_CST

static int passed, failed;

static void check(bool condition, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void check(bool condition, const char *format, ...)
{
    va_list arguments;
    if (condition) {
        passed++;
        return;
    }
    failed++;
    printf("FAIL: ");
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

static ex_config configure(ex_strategy strategy, bool weak_memory)
{
    ex_config config = ex_default_config();
    config.strategy = strategy;
    config.weak_memory = weak_memory;
    config.verbose = 0;
    return config;
}

static const ex_strategy depth_first[] = { EX_DFS, EX_SLEEP, EX_DPOR };

/* ------------------------------------------------------------------------------------------------
 * Litmus tests
 *
 * The threads use the orders S for stores, L for loads, M for read-modify-writes and F for fences; each
 * test gives their values. The question is always whether one certain outcome is possible.
 * ---------------------------------------------------------------------------------------------- */

static int S, L, M, F;
static uint32_t x, y, z;
static uint32_t a, b, c, d;             /* results */

static uint32_t load(uint32_t *p)              { return crt__atomic_load(p, L); }
static void     store(uint32_t *p, uint32_t v) { crt__atomic_store(p, v, S); }
static void     fence(void)                    { crt__atomic_fence(F); }

/* store buffering: both threads miss the store of the other */
static void sb_0(void *arg) { (void)arg; store(&x, 1); fence(); a = load(&y); }
static void sb_1(void *arg) { (void)arg; store(&y, 1); fence(); b = load(&x); }
static bool sb(void)        { return a == 0 && b == 0; }

/* the same with a fence in only one thread */
static void sb_unfenced(void *arg) { (void)arg; store(&y, 1); b = load(&x); }

/* message passing: the flag is seen, the message is not */
static void mp_0(void *arg) { (void)arg; crt__atomic_store(&x, 1, RELAXED); fence(); store(&y, 1); }
static void mp_1(void *arg) { (void)arg; a = load(&y); fence(); b = crt__atomic_load(&x, RELAXED); }
static bool mp(void)        { return a == 1 && b == 0; }

/* load buffering: both threads see a later store */
static void lb_0(void *arg) { (void)arg; a = load(&x); store(&y, 1); }
static void lb_1(void *arg) { (void)arg; b = load(&y); store(&x, 1); }
static bool lb(void)        { return a == 1 && b == 1; }

/* independent reads of independent writes: the readers disagree about the order */
static void iriw_x(void *arg) { (void)arg; store(&x, 1); }
static void iriw_y(void *arg) { (void)arg; store(&y, 1); }
static void iriw_2(void *arg) { (void)arg; a = load(&x); fence(); b = load(&y); }
static void iriw_3(void *arg) { (void)arg; c = load(&y); fence(); d = load(&x); }
static bool iriw(void)        { return a == 1 && b == 0 && c == 1 && d == 0; }

/* write-read causality: the message goes through a third thread */
static void wrc_1(void *arg) { (void)arg; a = load(&x); fence(); store(&y, 1); }
static void wrc_2(void *arg) { (void)arg; b = load(&y); fence(); c = crt__atomic_load(&x, RELAXED); }
static bool wrc(void)        { return a == 1 && b == 1 && c == 0; }

/* ISA2: the same, with a location for each step */
static void isa_0(void *arg) { (void)arg; crt__atomic_store(&x, 1, RELAXED); fence(); store(&y, 1); }
static void isa_1(void *arg) { (void)arg; a = load(&y); fence(); store(&z, 1); }
static void isa_2(void *arg) { (void)arg; b = load(&z); fence(); c = crt__atomic_load(&x, RELAXED); }
static bool isa(void)        { return a == 1 && b == 1 && c == 0; }

/* read-write causality: who saw x does not see y, whose writer does not see x */
static void rwc_1(void *arg) { (void)arg; a = load(&x); fence(); b = load(&y); }
static void rwc_2(void *arg) { (void)arg; store(&y, 1); fence(); c = load(&x); }
static bool rwc(void)        { return a == 1 && b == 0 && c == 0; }

/* S: a store that saw the flag must come after what the flag announces */
static void s_0(void *arg) { (void)arg; crt__atomic_store(&x, 2, RELAXED); fence(); store(&y, 1); }
static void s_1(void *arg) { (void)arg; a = load(&y); fence(); crt__atomic_store(&x, 1, RELAXED); }
static bool s(void)        { return a == 1 && x == 2; }

/* R: a store order against a load */
static void r_0(void *arg) { (void)arg; store(&x, 1); fence(); store(&y, 1); }
static void r_1(void *arg) { (void)arg; store(&y, 2); fence(); a = load(&x); }
static bool r(void)        { return y == 2 && a == 0; }

/* 2+2W: two store orders against each other */
static void ww_0(void *arg) { (void)arg; store(&x, 1); fence(); store(&y, 2); }
static void ww_1(void *arg) { (void)arg; store(&y, 1); fence(); store(&x, 2); }
static bool ww(void)        { return x == 1 && y == 1; }

/* coherence of one location */
static void two_stores(void *arg)   { (void)arg; store(&x, 1); store(&x, 2); }
static bool coww(void)              { return x == 1; }
static void corr_1(void *arg)       { (void)arg; a = load(&x); b = load(&x); }
static bool corr(void)              { return a == 2 && b == 1; }
static bool corr_new(void)          { return a == 1 && b == 0; }
static void cowr_0(void *arg)       { (void)arg; store(&x, 1); a = load(&x); }
static void cowr_1(void *arg)       { (void)arg; store(&x, 2); b = load(&x); }
static bool cowr(void)              { return a == 0 || (x == 1 && b == 2 && a == 2); }
static bool cowr_crossed(void)      { return a == 2 && b == 1; }
static void corw_0(void *arg)       { (void)arg; a = load(&x); store(&x, 1); }
static void corw_1(void *arg)       { (void)arg; store(&x, 2); }
static bool corw(void)              { return a == 2 && x == 2; }
static void coherence_2(void *arg)  { (void)arg; a = load(&x); b = load(&x); }
static void coherence_3(void *arg)  { (void)arg; c = load(&x); d = load(&x); }
static void store_1(void *arg)      { (void)arg; store(&x, 1); }
static void store_2(void *arg)      { (void)arg; store(&x, 2); }
static bool coherence(void)         { return a == 1 && b == 2 && c == 2 && d == 1; }

/* read-modify-writes never miss each other */
static void add_0(void *arg) { (void)arg; a = crt__atomic_add(&x, 1, M); }
static void add_1(void *arg) { (void)arg; b = crt__atomic_add(&x, 1, M); }
static bool lost_add(void)   { return a == b || x != 2; }

/* release sequence: the acquired value was written by a relaxed RMW (M) or store on top of the release */
static void seq_0(void *arg)       { (void)arg; crt__atomic_store(&x, 1, RELAXED); store(&y, 1); }
static void seq_rmw(void *arg)     { (void)arg; crt__atomic_add(&y, 1, M); }
static void seq_store(void *arg)
{
    (void)arg;
    if (crt__atomic_load(&y, RELAXED) == 1)
        crt__atomic_store(&y, 2, RELAXED);
}
static void seq_2(void *arg)       { (void)arg; a = load(&y); b = crt__atomic_load(&x, RELAXED); }
static bool seq(void)              { return a == 2 && b == 0; }

/* a failed compare-and-swap is a load with the order for failure (L) */
static void cas_1(void *arg)
{
    (void)arg;
    a = 7;
    crt__atomic_cas(&y, &a, 8, M, L);
    b = crt__atomic_load(&x, RELAXED);
}

/* seq_cst store, relaxed load: only a fence helps */
static void sb_mixed_0(void *arg) { (void)arg; store(&x, 1); a = crt__atomic_load(&y, RELAXED); }
static void sb_mixed_1(void *arg) { (void)arg; store(&y, 1); b = crt__atomic_load(&x, RELAXED); }

typedef struct litmus {
    const char *name;
    void      (*threads[4])(void *);
    bool      (*outcome)(void);
    int         S, L, M, F;
    bool        possible;           /* in weak mode */
    bool        possible_sc;        /* in SC mode */
} litmus;

static const litmus litmus_tests[] = {
    { "SB relaxed",            { sb_0, sb_1 }, sb, RELAXED, RELAXED, 0, RELAXED, true, false },
    { "SB release acquire",    { sb_0, sb_1 }, sb, RELEASE, ACQUIRE, 0, RELAXED, true, false },
    { "SB seq_cst",            { sb_0, sb_1 }, sb, SEQ_CST, SEQ_CST, 0, RELAXED, false, false },
    { "SB acq_rel fences",     { sb_0, sb_1 }, sb, RELAXED, RELAXED, 0, ACQ_REL, true, false },
    { "SB seq_cst fences",     { sb_0, sb_1 }, sb, RELAXED, RELAXED, 0, SEQ_CST, false, false },
    { "SB one fence",          { sb_0, sb_unfenced }, sb, RELAXED, RELAXED, 0, SEQ_CST, true, false },
    { "SB seq_cst, one fence", { sb_0, sb_unfenced }, sb, SEQ_CST, SEQ_CST, 0, SEQ_CST, false, false },
    { "SB sc store, rlx load", { sb_mixed_0, sb_mixed_1 }, sb, SEQ_CST, 0, 0, 0, true, false },
    { "MP relaxed",            { mp_0, mp_1 }, mp, RELAXED, RELAXED, 0, RELAXED, true, false },
    { "MP release only",       { mp_0, mp_1 }, mp, RELEASE, RELAXED, 0, RELAXED, true, false },
    { "MP acquire only",       { mp_0, mp_1 }, mp, RELAXED, ACQUIRE, 0, RELAXED, true, false },
    { "MP release acquire",    { mp_0, mp_1 }, mp, RELEASE, ACQUIRE, 0, RELAXED, false, false },
    { "MP release fences",     { mp_0, mp_1 }, mp, RELAXED, RELAXED, 0, RELEASE, true, false },
    { "MP acquire fences",     { mp_0, mp_1 }, mp, RELAXED, RELAXED, 0, ACQUIRE, true, false },
    { "MP acq_rel fences",     { mp_0, mp_1 }, mp, RELAXED, RELAXED, 0, ACQ_REL, false, false },
    { "MP seq_cst fences",     { mp_0, mp_1 }, mp, RELAXED, RELAXED, 0, SEQ_CST, false, false },
    { "LB relaxed (limit)",    { lb_0, lb_1 }, lb, RELAXED, RELAXED, 0, RELAXED, false, false },
    { "IRIW relaxed",          { iriw_x, iriw_y, iriw_2, iriw_3 }, iriw, RELAXED, RELAXED, 0, RELAXED, true, false },
    { "IRIW release acquire",  { iriw_x, iriw_y, iriw_2, iriw_3 }, iriw, RELEASE, ACQUIRE, 0, RELAXED, true, false },
    { "IRIW seq_cst",          { iriw_x, iriw_y, iriw_2, iriw_3 }, iriw, SEQ_CST, SEQ_CST, 0, RELAXED, false, false },
    { "IRIW seq_cst fences",   { iriw_x, iriw_y, iriw_2, iriw_3 }, iriw, RELAXED, RELAXED, 0, SEQ_CST, false, false },
    { "WRC relaxed",           { iriw_x, wrc_1, wrc_2 }, wrc, RELAXED, RELAXED, 0, RELAXED, true, false },
    { "WRC release acquire",   { iriw_x, wrc_1, wrc_2 }, wrc, RELEASE, ACQUIRE, 0, RELAXED, false, false },
    { "WRC acq_rel fences",    { iriw_x, wrc_1, wrc_2 }, wrc, RELAXED, RELAXED, 0, ACQ_REL, false, false },
    { "ISA2 relaxed",          { isa_0, isa_1, isa_2 }, isa, RELAXED, RELAXED, 0, RELAXED, true, false },
    { "ISA2 release acquire",  { isa_0, isa_1, isa_2 }, isa, RELEASE, ACQUIRE, 0, RELAXED, false, false },
    { "ISA2 acq_rel fences",   { isa_0, isa_1, isa_2 }, isa, RELAXED, RELAXED, 0, ACQ_REL, false, false },
    { "RWC relaxed",           { iriw_x, rwc_1, rwc_2 }, rwc, RELAXED, RELAXED, 0, RELAXED, true, false },
    { "RWC release acquire",   { iriw_x, rwc_1, rwc_2 }, rwc, RELEASE, ACQUIRE, 0, RELAXED, true, false },
    { "RWC seq_cst",           { iriw_x, rwc_1, rwc_2 }, rwc, SEQ_CST, SEQ_CST, 0, RELAXED, false, false },
    { "RWC seq_cst fences",    { iriw_x, rwc_1, rwc_2 }, rwc, RELAXED, RELAXED, 0, SEQ_CST, false, false },
    { "S relaxed",             { s_0, s_1 }, s, RELAXED, RELAXED, 0, RELAXED, true, false },
    { "S release acquire",     { s_0, s_1 }, s, RELEASE, ACQUIRE, 0, RELAXED, false, false },
    { "R release acquire",     { r_0, r_1 }, r, RELEASE, ACQUIRE, 0, RELAXED, true, false },
    { "R seq_cst",             { r_0, r_1 }, r, SEQ_CST, SEQ_CST, 0, RELAXED, false, false },
    { "R seq_cst fences",      { r_0, r_1 }, r, RELAXED, RELAXED, 0, SEQ_CST, false, false },
    { "2+2W release",          { ww_0, ww_1 }, ww, RELEASE, RELAXED, 0, RELAXED, true, false },
    { "2+2W seq_cst",          { ww_0, ww_1 }, ww, SEQ_CST, RELAXED, 0, RELAXED, false, false },
    { "2+2W seq_cst fences",   { ww_0, ww_1 }, ww, RELAXED, RELAXED, 0, SEQ_CST, false, false },
    { "CoWW",                  { two_stores }, coww, RELAXED, RELAXED, 0, 0, false, false },
    { "CoRR backwards",        { two_stores, corr_1 }, corr, RELAXED, RELAXED, 0, 0, false, false },
    { "CoRR to initial",       { two_stores, corr_1 }, corr_new, RELAXED, RELAXED, 0, 0, false, false },
    { "CoWR",                  { cowr_0, cowr_1 }, cowr, RELAXED, RELAXED, 0, 0, false, false },
    { "CoWR crossed",          { cowr_0, cowr_1 }, cowr_crossed, RELAXED, RELAXED, 0, 0, false, false },
    { "CoRW",                  { corw_0, corw_1 }, corw, RELAXED, RELAXED, 0, 0, false, false },
    { "coherence, 2 readers",  { store_1, store_2, coherence_2, coherence_3 }, coherence, RELAXED, RELAXED, 0, 0, false, false },
    { "RMW atomicity",         { add_0, add_1 }, lost_add, 0, 0, RELAXED, 0, false, false },
    { "release sequence",      { seq_0, seq_rmw, seq_2 }, seq, RELEASE, ACQUIRE, RELAXED, 0, false, false },
    { "sequence, no release",  { seq_0, seq_rmw, seq_2 }, seq, RELAXED, ACQUIRE, RELAXED, 0, true, false },
    { "sequence cut by store", { seq_0, seq_store, seq_2 }, seq, RELEASE, ACQUIRE, RELAXED, 0, true, false },
    { "failed CAS acquire",    { mp_0, cas_1 }, mp, RELEASE, ACQUIRE, RELAXED, 0, false, false },
    { "failed CAS relaxed",    { mp_0, cas_1 }, mp, RELEASE, RELAXED, ACQUIRE, 0, true, false },
};

static const litmus *current;

static void litmus_model(void)
{
    int ids[4], count = 0;
    x = y = z = a = b = c = d = 0;
    while (count < 4 && current->threads[count]) {
        ids[count] = ex_spawn(current->threads[count], NULL);
        count++;
    }
    while (count > 0)
        ex_join(ids[--count]);
    EX_ASSERT(!current->outcome());
}

static void test_litmus(const litmus *test)
{
    current = test;
    S = test->S; L = test->L; M = test->M; F = test->F;
    for (int weak = 0; weak < 2; weak++) {
        bool possible = weak ? test->possible : test->possible_sc;
        for (int i = 0; i < 3; i++) {
            ex_result result = ex_run(test->name, configure(depth_first[i], weak), litmus_model);
            check(result.failed == possible && (possible || result.exhausted), "litmus %s, %s, weak %d: %s",
                  test->name, ex_strategy_name[depth_first[i]], weak, possible ? "not found" : result.message);
        }
    }
    ex_config random = configure(EX_RANDOM, true);
    random.max_executions = 5000;
    check(ex_run(test->name, random, litmus_model).failed == test->possible, "litmus %s, random", test->name);
}

/* ------------------------------------------------------------------------------------------------
 * Random programs: do DFS, sleep sets and DPOR see the same outcomes?
 * ---------------------------------------------------------------------------------------------- */

enum { DO_LOAD, DO_STORE, DO_ADD, DO_XCHG, DO_CAS, DO_FENCE, DO_LOCK, DO_SPIN, DO_SLEEP, DO_WAKE, DO_KINDS };
enum { MAX_OPS = 5, MAX_OUTCOMES = 1 << 16 };

typedef struct random_op {
    int      kind, order, order_failed;
    uint32_t value;
    int      location;
} random_op;

static random_op program[3][MAX_OPS];
static int       program_threads, program_length[3];
static uint32_t  memory[2], futex, results[3][MAX_OPS];
static int       mutex;
static uint64_t  outcomes[MAX_OUTCOMES];
static int       outcome_count;
static uint64_t  outcome_sum, dice;

static int roll(int sides)
{
    dice = dice * 6364136223846793005ull + 1442695040888963407ull;
    return (int)((dice >> 33) % (unsigned)sides);
}

static void note_outcome(uint64_t hash)
{
    size_t i = hash % MAX_OUTCOMES;
    hash |= 1;
    while (outcomes[i] && outcomes[i] != hash)
        i = (i + 1) % MAX_OUTCOMES;
    if (!outcomes[i]) {
        outcomes[i] = hash;
        outcome_count++;
        outcome_sum += hash;
    }
}

static uint32_t spin_twice(uint32_t *p, int order)
{
    uint32_t seen = 0;
    for (int i = 0; i < 2; i++) {
        uint32_t value = crt__atomic_load(p, order);
        seen = seen * 100 + value + 1;
        if (value)
            break;
        crt__cpu_relax();
    }
    return seen;
}

static uint32_t do_random_op(const random_op *op)
{
    uint32_t *p = &memory[op->location], expected = op->value % 2, result = 0;
    switch (op->kind) {
    case DO_LOAD:  return crt__atomic_load(p, op->order);
    case DO_STORE: crt__atomic_store(p, op->value, op->order); break;
    case DO_ADD:   return crt__atomic_add(p, op->value, op->order);
    case DO_XCHG:  return crt__atomic_xchg(p, op->value, op->order);
    case DO_CAS:   result = crt__atomic_cas(p, &expected, op->value, op->order, op->order_failed);
                   return result * 100 + expected;
    case DO_FENCE: crt__atomic_fence(op->order); break;
    case DO_LOCK:  ex_lock(&mutex);
                   result = crt__atomic_load(p, RELAXED);
                   ex_unlock(&mutex);
                   break;
    case DO_SPIN:  return spin_twice(p, op->order);
    case DO_SLEEP: return (uint32_t)crt__futex_wait(&futex, 0, 1000);
    case DO_WAKE:  crt__atomic_store(&futex, 1, RELEASE);
                   crt__futex_wake(&futex, 1);
                   break;
    }
    return result;
}

static void random_thread(void *arg)
{
    intptr_t id = (intptr_t)arg;
    for (int i = 0; i < program_length[id]; i++)
        results[id][i] = do_random_op(&program[id][i]);
}

static void random_model(void)
{
    int ids[3];
    uint64_t hash = 1469598103934665603ull;
    memset(memory, 0, sizeof memory);
    memset(results, 0, sizeof results);
    futex = 0;
    for (int i = 0; i < program_threads; i++)
        ids[i] = ex_spawn(random_thread, (void *)(intptr_t)i);
    for (int i = 0; i < program_threads; i++)
        ex_join(ids[i]);
    for (size_t i = 0; i < 3 * MAX_OPS; i++)
        hash = (hash ^ results[i / MAX_OPS][i % MAX_OPS] ^ hash >> 31) * 1099511628211ull;
    hash = (hash ^ memory[0] ^ (uint64_t)memory[1] << 32 ^ hash >> 31) * 1099511628211ull;
    note_outcome(hash);
}

static int random_order(int kind)
{
    static const int loads[] = { RELAXED, ACQUIRE, SEQ_CST }, stores[] = { RELAXED, RELEASE, SEQ_CST };
    static const int rmws[] = { RELAXED, ACQUIRE, RELEASE, ACQ_REL, SEQ_CST };
    if (kind == DO_LOAD || kind == DO_SPIN)
        return loads[roll(3)];
    if (kind == DO_STORE)
        return stores[roll(3)];
    return kind == DO_FENCE ? rmws[1 + roll(4)] : rmws[roll(5)];
}

static void make_random_program(uint64_t seed)
{
    static const int failed_orders[] = { RELAXED, ACQUIRE, SEQ_CST };
    dice = seed * 0x9E3779B97F4A7C15ull;
    roll(2);
    program_threads = 2 + roll(2);
    for (int t = 0; t < program_threads; t++) {
        program_length[t] = 1 + roll(program_threads == 2 ? 4 : 3);
        for (int i = 0; i < program_length[t]; i++) {
            int kind = roll(DO_KINDS);
            program[t][i] = (random_op){ kind, random_order(kind), failed_orders[roll(3)],
                                         (uint32_t)(1 + t * 5 + i), roll(2) };
        }
    }
}

/* Number of outcomes, or -1 if the program is too large to explore completely. */
static int count_outcomes(ex_strategy strategy, bool weak, uint64_t *sum)
{
    ex_config config = configure(strategy, weak);
    config.max_executions = 20000;
    memset(outcomes, 0, sizeof outcomes);
    outcome_count = 0;
    outcome_sum = 0;
    ex_result result = ex_run("random program", config, random_model);
    *sum = outcome_sum;
    return result.exhausted ? outcome_count : -1;
}

static void test_random_programs(void)
{
    int compared = 0;
    for (uint64_t seed = 1; seed <= 150; seed++)
        for (int weak = 0; weak < 2; weak++) {
            uint64_t sums[3];
            int counts[3];
            make_random_program(seed);
            for (int i = 0; i < 3; i++)
                counts[i] = count_outcomes(depth_first[i], weak, &sums[i]);
            if (counts[0] < 0)
                continue;
            compared++;
            check(counts[0] == counts[1] && sums[0] == sums[1] && counts[0] == counts[2] && sums[0] == sums[2],
                  "random program %d, weak %d: outcomes dfs %d, sleep %d, dpor %d", (int)seed, weak, counts[0],
                  counts[1], counts[2]);
        }
    check(compared > 200, "only %d random programs were small enough", compared);
}

/* ------------------------------------------------------------------------------------------------
 * Detectors: small programs with one mistake each, and correct ones that must not be reported
 * ---------------------------------------------------------------------------------------------- */

static int plain;
static uint32_t flag, other_flag;

static void run_two(void (*first)(void *), void (*second)(void *))
{
    int one = ex_spawn(first, NULL), two = ex_spawn(second, NULL);
    ex_join(one);
    ex_join(two);
}

static void write_plain(void *arg)   { (void)arg; EX_WRITE(plain) = 1; }
static void race_model(void)         { EX_WRITE(plain) = 0; run_two(write_plain, write_plain); }

static void add_locked(void *arg)
{
    (void)arg;
    ex_lock(&mutex);
    EX_WRITE(plain) = EX_READ(plain) + 1;
    ex_unlock(&mutex);
}
static void locked_model(void)
{
    EX_WRITE(plain) = 0;
    run_two(add_locked, add_locked);
    EX_ASSERT(EX_READ(plain) == 2);
}

static void init_late(void *arg)     { (void)arg; EX_WRITE(flag) = 0; }
static void load_flag(void *arg)     { (void)arg; crt__atomic_load(&flag, ACQUIRE); }
static void init_race_model(void)    { flag = 0; run_two(init_late, load_flag); }

static void use_after_free_model(void)
{
    int *p = ex_malloc(sizeof *p);
    ex_free(p);
    EX_WRITE(*p) = 1;
}

static void double_free_model(void)
{
    void *p = ex_malloc(1);
    ex_free(p);
    ex_free(p);
}

static void leak_model(void)         { ex_calloc(2, 8); }
static void past_end_model(void)
{
    char *p = ex_malloc(3);
    EX_WRITE(p[3]) = 1;
}

static void realloc_model(void)
{
    int *p = ex_malloc(sizeof *p);
    *p = 5;
    p = ex_realloc(p, 100 * sizeof *p);
    EX_ASSERT(*p == 5);
    ex_free(p);
}

static int *shared;
static void read_shared(void *arg)
{
    (void)arg;
    EX_ASSERT(EX_READ(*shared) == 1);
    crt__atomic_store(&flag, 1, RELAXED);
}
static void free_shared(void *arg)
{
    (void)arg;
    while (!crt__atomic_load(&flag, ACQUIRE))
        crt__cpu_relax();
    ex_free(shared);
}
static void free_race_model(void)
{
    flag = 0;
    shared = ex_malloc(sizeof *shared);
    EX_WRITE(*shared) = 1;
    run_two(read_shared, free_shared);
}

static int mutex_2;
static void lock_both(int *first, int *second)
{
    ex_lock(first);
    ex_lock(second);
    ex_unlock(second);
    ex_unlock(first);
}
static void lock_1_2(void *arg)      { (void)arg; lock_both(&mutex, &mutex_2); }
static void lock_2_1(void *arg)      { (void)arg; lock_both(&mutex_2, &mutex); }
static void lock_order_model(void)   { run_two(lock_1_2, lock_2_1); }

/* A futex used right, and one whose sleeper compares with a value that it has not checked. */
static void futex_waker(void *arg)
{
    (void)arg;
    crt__atomic_store(&flag, 1, RELEASE);
    crt__futex_wake(&flag, 1);
}
static void futex_sleeper(void *arg)
{
    (void)arg;
    while (!crt__atomic_load(&flag, ACQUIRE))
        crt__futex_wait(&flag, 0, -1);
}
static void futex_careless(void *arg)
{
    (void)arg;
    if (!crt__atomic_load(&flag, ACQUIRE))
        crt__futex_wait(&flag, crt__atomic_load(&flag, RELAXED), -1);
}
static void futex_model(void)        { flag = 0; run_two(futex_waker, futex_sleeper); }
static void lost_wake_model(void)    { flag = 0; run_two(futex_waker, futex_careless); }

/* Three sleepers, two of them woken at once: which ones is open. */
static void sleep_once(void *arg)
{
    (void)arg;
    if (crt__futex_wait(&flag, 0, -1) == 0)
        crt__atomic_add(&other_flag, 1, RELAXED);
}
static void wake_in_steps(void *arg)
{
    (void)arg;
    crt__atomic_store(&flag, 1, RELEASE);
    crt__futex_wake(&flag, 2);
    crt__futex_wake(&flag, 1);
}
static void wake_some_model(void)
{
    int ids[4];
    flag = other_flag = 0;
    for (int i = 0; i < 3; i++)
        ids[i] = ex_spawn(sleep_once, NULL);
    ids[3] = ex_spawn(wake_in_steps, NULL);
    for (int i = 0; i < 4; i++)
        ex_join(ids[i]);
    EX_ASSERT(crt__atomic_load(&other_flag, RELAXED) == 3);
}

/* A timed wait may time out although it is woken later, and must time out if nobody wakes it. */
static void timed_waiter(void *arg)  { (void)arg; plain = crt__futex_wait(&flag, 0, 1000); }
static void timeout_model(void)      { flag = 0; run_two(timed_waiter, futex_waker); EX_ASSERT(plain == 0); }
static void no_timeout_model(void)
{
    flag = 0;
    ex_join(ex_spawn(timed_waiter, NULL));
    EX_ASSERT(plain == 1);
}

static void spurious_model(void)
{
    flag = 0;
    run_two(futex_waker, sleep_once);
    ex_join(ex_spawn(futex_sleeper, NULL));
    EX_ASSERT(crt__atomic_load(&flag, ACQUIRE) == 1);
}
static void spurious_wait(void *arg)
{
    (void)arg;
    crt__futex_wait(&flag, 0, -1);
    EX_ASSERT(crt__atomic_load(&flag, ACQUIRE) == 1);
}
static void spurious_bug_model(void) { flag = 0; run_two(futex_waker, spurious_wait); }

static void weak_cas_model(void)
{
    uint32_t expected = 0;
    flag = 0;
    EX_ASSERT(crt__atomic_cas_weak(&flag, &expected, 1, ACQ_REL, RELAXED));
}

/* Spinning: for something that comes, for something that does not, and in company. */
static void spin_for(uint32_t *p)
{
    while (!crt__atomic_load(p, ACQUIRE))
        crt__cpu_relax();
}
static void set_flag(void *arg)      { (void)arg; crt__atomic_store(&flag, 1, RELEASE); }
static void spin(void *arg)          { (void)arg; spin_for(&flag); }
static void spin_other(void *arg)    { (void)arg; spin_for(&other_flag); set_flag(NULL); }
static void spin_first(void *arg)    { (void)arg; spin_for(&flag); crt__atomic_store(&other_flag, 1, RELEASE); }
static void spin_model(void)         { flag = 0; run_two(spin, set_flag); }
static void livelock_model(void)     { flag = other_flag = 0; run_two(spin_first, spin_other); }
static void crowd_model(void)
{
    flag = 0;
    int one = ex_spawn(spin, NULL), two = ex_spawn(spin, NULL);
    run_two(spin, set_flag);
    ex_join(one);
    ex_join(two);
}

static unsigned chosen;
static void choose_model(void)       { chosen |= 1u << ex_choose(5); }

static int local;
static void use_local(void *arg)
{
    (void)arg;
    EX_ASSERT(local == 0);
    local = ex_self();
    crt__atomic_add(&flag, 1, RELAXED);
    EX_ASSERT(local == ex_self());
}
static void local_model(void)        { flag = 0; run_two(use_local, use_local); }

/* The second visit finds another variable at the same address: old values must not come back. */
static void visit_stack(uint32_t value)
{
    uint32_t variable = value;
    EX_ASSERT(crt__atomic_load(&variable, RELAXED) == value);
    crt__atomic_store(&variable, value + 1, RELAXED);
    EX_ASSERT(crt__atomic_load(&variable, RELAXED) == value + 1);
}
static void stack_model(void)        { visit_stack(1); visit_stack(5); }

/* Needs two preemptions: one inside each thread. */
static void aba_0(void *arg)         { (void)arg; a = load(&x); b = load(&x); }
static void aba_1(void *arg)         { (void)arg; store(&x, 1); store(&x, 0); }
static void two_preemptions_model(void)
{
    x = 0;
    S = L = SEQ_CST;
    run_two(aba_0, aba_1);
    EX_ASSERT(!(a == 0 && b == 1));
}

typedef struct detector_test {
    const char *name;
    void      (*model)(void);
    const char *message;            /* part of it; NULL: must be clean */
    int         timeouts, spurious_wakes, spurious_cas;
} detector_test;

static const detector_test detector_tests[] = {
    { "data race", race_model, "data race", 0, 0, 0 },
    { "no data race", locked_model, NULL, 0, 0, 0 },
    { "atomic before initialisation", init_race_model, "data race", 0, 0, 0 },
    { "use after free", use_after_free_model, "use after free", 0, 0, 0 },
    { "double free", double_free_model, "double free", 0, 0, 0 },
    { "leak", leak_model, "leak", 0, 0, 0 },
    { "past the end", past_end_model, "outside of a heap block", 0, 0, 0 },
    { "realloc", realloc_model, NULL, 0, 0, 0 },
    { "free race", free_race_model, "free by", 0, 0, 0 },
    { "lock order", lock_order_model, "deadlock", 0, 0, 0 },
    { "futex", futex_model, NULL, 0, 0, 0 },
    { "futex, spurious wakes", futex_model, NULL, 0, 2, 0 },
    { "lost wake-up", lost_wake_model, "lost wake-up", 0, 0, 0 },
    { "wake some", wake_some_model, NULL, 0, 0, 0 },
    { "timeout", timeout_model, "assertion", 1, 0, 0 },
    { "no early timeout", timeout_model, NULL, 0, 0, 0 },
    { "timeout at last", no_timeout_model, NULL, 0, 0, 0 },
    { "spurious wake", spurious_bug_model, "assertion", 0, 1, 0 },
    { "no spurious wake", spurious_model, NULL, 0, 0, 0 },
    { "weak CAS", weak_cas_model, "assertion", 0, 0, 1 },
    { "weak CAS, never spurious", weak_cas_model, NULL, 0, 0, 0 },
    { "spin", spin_model, NULL, 0, 0, 0 },
    { "livelock", livelock_model, "livelock", 0, 0, 0 },
    { "three spinners", crowd_model, NULL, 0, 0, 0 },
    { "thread-local", local_model, NULL, 0, 0, 0 },
    { "stack variable", stack_model, NULL, 0, 0, 0 },
    { "two preemptions", two_preemptions_model, "assertion", 0, 0, 0 },
};

static void test_detector(const detector_test *test)
{
    for (int strategy = EX_DFS; strategy <= EX_PCT; strategy++)
        for (int weak = 0; weak < 2; weak++) {
            ex_config config = configure((ex_strategy)strategy, weak);
            config.timeouts = test->timeouts;
            config.spurious_wakes = test->spurious_wakes;
            config.spurious_cas = test->spurious_cas;
            config.max_executions = strategy >= EX_RANDOM ? 1000 : 100000;
            config.max_steps = 300;
            ex_result result = ex_run(test->name, config, test->model);
            bool right = test->message ? result.failed && strstr(result.message, test->message) : !result.failed;
            check(right, "detector %s, %s, weak %d: %s", test->name, ex_strategy_name[strategy], weak,
                  result.failed ? result.message : "nothing found");
            if (!test->message && strategy <= EX_DPOR)
                check(result.exhausted, "detector %s, %s, weak %d: not exhausted", test->name,
                      ex_strategy_name[strategy], weak);
            if (!result.failed)
                continue;
            static char replay[1 << 16];
            snprintf(replay, sizeof replay, "%s", result.replay);
            config.replay = replay;
            ex_result again = ex_run(test->name, config, test->model);
            check(again.failed && again.executions == 1 && strcmp(again.message, result.message) == 0,
                  "replay of %s, %s, weak %d: %s", test->name, ex_strategy_name[strategy], weak, again.message);
        }
}

static void test_options(void)
{
    ex_config config = configure(EX_DFS, false);
    chosen = 0;
    check(ex_run("choose", config, choose_model).executions == 5 && chosen == 31, "ex_choose: not all values");

    config.preemption_bound = 1;
    ex_result result = ex_run("bound 1", config, two_preemptions_model);
    check(!result.failed && result.exhausted, "two preemptions found with one");
    config.preemption_bound = 2;
    check(ex_run("bound 2", config, two_preemptions_model).failed, "two preemptions not found with two");

    config = configure(EX_DPOR, false);
    config.max_steps = 100;
    config.allow_capped = true;
    config.max_executions = 10;
    result = ex_run("capped", config, livelock_model);
    check(!result.failed && result.capped > 0, "allow_capped");
    config = configure(EX_DPOR, false);
    config.allow_leaks = true;
    check(!ex_run("leak", config, leak_model).failed, "allow_leaks");

    config = configure(EX_RANDOM, true);
    config.replay = "Z";
    check(ex_run("bad replay", config, locked_model).failed, "bad replay string accepted");
}

/* Outside of a model the macros are ordinary atomics. */
static void test_outside(void)
{
    static uint8_t byte = 5;
    static bool truth;
    static void *pointer;
    void *expected = NULL;
    uint8_t wrong = 9;
    check(crt__atomic_add(&byte, 255, RELAXED) == 5 && crt__atomic_load(&byte, ACQUIRE) == 4, "add outside");
    check(crt__atomic_or(&byte, 0x80, SEQ_CST) == 4, "or outside");
    check(crt__atomic_and(&byte, 0xf0, RELAXED) == 0x84, "and outside");
    check(!crt__atomic_cas(&byte, &wrong, 1, ACQ_REL, RELAXED) && wrong == 0x80, "failed cas outside");
    check(crt__atomic_cas_weak(&byte, &wrong, 1, ACQ_REL, RELAXED) && byte == 1, "cas outside");
    crt__atomic_store(&truth, true, RELEASE);
    check(crt__atomic_xchg(&truth, false, ACQ_REL), "bool outside");
    check(crt__atomic_cas(&pointer, &expected, &byte, ACQ_REL, RELAXED) && pointer == &byte, "pointer outside");
    check(crt__atomic_sub(&byte, 2, RELAXED) == 1 && byte == 255, "sub outside");
    crt__atomic_fence(SEQ_CST);
    crt__cpu_relax();
    check(ex_self() == -1 && ex_choose(3) == 0, "self outside");
    void *memory_outside = ex_realloc(ex_malloc(10), 20);
    check(memory_outside != NULL, "malloc outside");
    ex_free(memory_outside);
    flag = 1;
    check(crt__futex_wait(&flag, 0, -1) == 0 && crt__futex_wait(&flag, 1, 10) != 0, "futex outside");
    crt__futex_wake(&flag, 1);
}

/* ------------------------------------------------------------------------------------------------
 * The cores of a runtime, with seeded bugs
 * ---------------------------------------------------------------------------------------------- */

typedef enum bug {
    NO_BUG,
    DEQUE_RELAXED_PUSH, DEQUE_NO_FENCE, DEQUE_NO_CAS, DEQUE_RELAXED_STEAL,
    TASK_CHECK_THEN_IDLE, TASK_RELAXED_FLAG, TASK_WAKE_SKIPS_SCHEDULED, TASK_WAKE_SKIPS_RUNNING,
    TASK_RELAXED_FAILURE, TASK_PLAIN_RESCHEDULE,
    SLEEP_NO_RECHECK, SLEEP_NO_FENCE,
    WAKER_NO_RECHECK, WAKER_NO_RMW,
    QUEUE_RELAXED_LINK, QUEUE_EARLY_WAKE, QUEUE_RELAXED_XCHG,
    COUNT_RELAXED_DROP, COUNT_LOAD_THEN_SUB,
    JOIN_LATE_WAKER, JOIN_RELAXED_COMPLETE
} bug;

static bug seeded;                  /* the bug of the current run */

static int order_unless(bug which, int order)
{
    return seeded == which ? RELAXED : order;
}

/* --- Chase-Lev work-stealing deque: the owner pushes and pops at the bottom, a thief steals at the top */

enum { DEQUE_ITEMS = 2, DEQUE_SIZE = 4 };

typedef struct deque_item {
    int      payload;
    uint32_t taken;
} deque_item;

static uint32_t    deque_top, deque_bottom;
static deque_item *deque_buffer[DEQUE_SIZE];
static deque_item  deque_items[DEQUE_ITEMS];

static void deque_push(deque_item *item)
{
    uint32_t bottom = crt__atomic_load(&deque_bottom, RELAXED);
    crt__atomic_store(&deque_buffer[bottom % DEQUE_SIZE], item, RELAXED);
    crt__atomic_store(&deque_bottom, bottom + 1, order_unless(DEQUE_RELAXED_PUSH, RELEASE));
}

/* The last item may be wanted by the thief as well. */
static bool deque_win_last(uint32_t top)
{
    if (seeded == DEQUE_NO_CAS) {
        crt__atomic_store(&deque_top, top + 1, RELAXED);
        return true;
    }
    return crt__atomic_cas(&deque_top, &top, top + 1, SEQ_CST, RELAXED);
}

static deque_item *deque_pop(void)
{
    uint32_t bottom = crt__atomic_load(&deque_bottom, RELAXED) - 1;
    deque_item *item = NULL;
    crt__atomic_store(&deque_bottom, bottom, RELEASE);      /* a thief may learn of older items from it */
    if (seeded != DEQUE_NO_FENCE)
        crt__atomic_fence(SEQ_CST);
    uint32_t top = crt__atomic_load(&deque_top, RELAXED);
    if ((int32_t)(bottom - top) > 0)
        return crt__atomic_load(&deque_buffer[bottom % DEQUE_SIZE], RELAXED);
    if (bottom == top && deque_win_last(top))
        item = crt__atomic_load(&deque_buffer[bottom % DEQUE_SIZE], RELAXED);
    crt__atomic_store(&deque_bottom, bottom + 1, RELEASE);
    return item;
}

static deque_item *deque_steal(void)
{
    uint32_t top = crt__atomic_load(&deque_top, ACQUIRE);
    crt__atomic_fence(SEQ_CST);
    uint32_t bottom = crt__atomic_load(&deque_bottom, order_unless(DEQUE_RELAXED_STEAL, ACQUIRE));
    if ((int32_t)(bottom - top) <= 0)
        return NULL;
    deque_item *item = crt__atomic_load(&deque_buffer[top % DEQUE_SIZE], RELAXED);
    return crt__atomic_cas(&deque_top, &top, top + 1, SEQ_CST, RELAXED) ? item : NULL;
}

static void deque_take(deque_item *item)
{
    if (!item)
        return;
    EX_ASSERT(EX_READ(item->payload) == 100);
    EX_ASSERT(crt__atomic_add(&item->taken, 1, RELAXED) == 0);
}

static void deque_owner(void *arg)
{
    (void)arg;
    for (int i = 0; i < DEQUE_ITEMS; i++) {
        EX_WRITE(deque_items[i].payload) = 100;
        deque_push(&deque_items[i]);
    }
    for (int i = 0; i < DEQUE_ITEMS; i++)
        deque_take(deque_pop());
}

static void deque_thief(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++)
        deque_take(deque_steal());
}

static void deque_model(void)
{
    uint32_t taken = 0;
    deque_top = deque_bottom = 1;
    memset(deque_buffer, 0, sizeof deque_buffer);
    memset(deque_items, 0, sizeof deque_items);
    run_two(deque_owner, deque_thief);
    while (deque_pop())
        taken++;
    for (int i = 0; i < DEQUE_ITEMS; i++)
        taken += deque_items[i].taken;
    EX_ASSERT(taken == DEQUE_ITEMS);
}

/* --- Task and wakers: a task is polled until its flag is set; a wake during the poll is not lost */

enum { TASK_IDLE, TASK_SCHEDULED, TASK_RUNNING, TASK_NOTIFIED, TASK_DONE };

static uint32_t task_state, task_queued, task_flag;
static int      task_data, task_executor_id;

static void task_enqueue(void)
{
    crt__atomic_store(&task_queued, 1, RELEASE);
    ex_unpark(task_executor_id);
}

/* Even if there is nothing to change, the state is replaced by itself: the exchange passes on to the
 * executor what was written before the wake. */
static void task_wake(void)
{
    uint32_t state = crt__atomic_load(&task_state, RELAXED), next;
    do {
        next = state == TASK_IDLE ? TASK_SCHEDULED : state == TASK_RUNNING ? TASK_NOTIFIED : state;
        if (seeded == TASK_WAKE_SKIPS_RUNNING && state == TASK_RUNNING)
            return;
        if (seeded == TASK_WAKE_SKIPS_SCHEDULED && next == state)
            return;
    } while (!crt__atomic_cas(&task_state, &state, next, ACQ_REL, RELAXED));
    if (state == TASK_IDLE)
        task_enqueue();
}

static bool task_poll(void)
{
    if (!crt__atomic_load(&task_flag, ACQUIRE))
        return false;
    EX_ASSERT(EX_READ(task_data) == 42);
    return true;
}

/* After a poll without result: become idle, unless there was a wake meanwhile. */
static bool task_become_idle(void)
{
    uint32_t state = TASK_RUNNING;
    if (seeded == TASK_CHECK_THEN_IDLE) {
        state = crt__atomic_load(&task_state, ACQUIRE);
        if (state == TASK_RUNNING)
            crt__atomic_store(&task_state, TASK_IDLE, RELEASE);
        return state == TASK_RUNNING;
    }
    if (crt__atomic_cas(&task_state, &state, TASK_IDLE, ACQ_REL, order_unless(TASK_RELAXED_FAILURE, ACQUIRE)))
        return true;
    EX_ASSERT(state == TASK_NOTIFIED);
    return false;
}

static void task_reschedule(void)
{
    if (seeded == TASK_PLAIN_RESCHEDULE || seeded == TASK_RELAXED_FAILURE)
        crt__atomic_store(&task_state, TASK_SCHEDULED, RELEASE);
    else
        crt__atomic_xchg(&task_state, TASK_SCHEDULED, ACQ_REL);
    crt__atomic_store(&task_queued, 1, RELEASE);
}

static void task_executor(void *arg)
{
    (void)arg;
    for (;;) {
        while (!crt__atomic_xchg(&task_queued, 0, ACQUIRE))
            ex_park();
        uint32_t state = TASK_SCHEDULED;
        EX_ASSERT(crt__atomic_cas(&task_state, &state, TASK_RUNNING, ACQ_REL, RELAXED));
        if (task_poll())
            break;
        if (!task_become_idle())
            task_reschedule();
    }
    crt__atomic_store(&task_state, TASK_DONE, RELEASE);
}

static void task_waker(void *arg)
{
    (void)arg;
    EX_WRITE(task_data) = 42;
    crt__atomic_store(&task_flag, 1, order_unless(TASK_RELAXED_FLAG, RELEASE));
    task_wake();
}

static void task_needless_waker(void *arg)
{
    (void)arg;
    task_wake();
}

static void task_start(void)
{
    task_state = TASK_SCHEDULED;
    task_queued = 1;
    task_flag = 0;
    EX_WRITE(task_data) = 0;
    task_executor_id = ex_spawn(task_executor, NULL);
}

static void task_model(void)
{
    task_start();
    ex_join(ex_spawn(task_waker, NULL));
    ex_join(task_executor_id);
    EX_ASSERT(crt__atomic_load(&task_state, RELAXED) == TASK_DONE);
}

static void task_two_wakers_model(void)
{
    task_start();
    run_two(task_waker, task_needless_waker);
    ex_join(task_executor_id);
}

/* --- A worker goes to sleep while work arrives (the two stores and loads of Dekker's algorithm) */

static uint32_t sleep_work, sleep_sleeping;
static int      sleep_data, sleep_worker_id;

static void sleep_fence(void)
{
    if (seeded != SLEEP_NO_FENCE)
        crt__atomic_fence(SEQ_CST);
}

static void sleep_worker(void *arg)
{
    (void)arg;
    while (!crt__atomic_xchg(&sleep_work, 0, ACQUIRE)) {
        crt__atomic_store(&sleep_sleeping, 1, RELAXED);
        sleep_fence();
        if (seeded == SLEEP_NO_RECHECK || !crt__atomic_load(&sleep_work, RELAXED))
            ex_park();
        crt__atomic_store(&sleep_sleeping, 0, RELAXED);
    }
    EX_ASSERT(EX_READ(sleep_data) == 7);
}

static void sleep_producer(void *arg)
{
    (void)arg;
    EX_WRITE(sleep_data) = 7;
    crt__atomic_store(&sleep_work, 1, RELEASE);
    sleep_fence();
    if (crt__atomic_load(&sleep_sleeping, RELAXED))
        ex_unpark(sleep_worker_id);
}

static void sleep_model(void)
{
    sleep_work = sleep_sleeping = 0;
    EX_WRITE(sleep_data) = 0;
    sleep_worker_id = ex_spawn(sleep_worker, NULL);
    ex_join(ex_spawn(sleep_producer, NULL));
    ex_join(sleep_worker_id);
}

/* --- Register a waker, then check again: the result may have arrived before the registration */

static uint32_t waker_ready, waker_slot;
static int      waker_data, waker_consumer_id;

static bool waker_try(void)
{
    if (!crt__atomic_load(&waker_ready, ACQUIRE))
        return false;
    EX_ASSERT(EX_READ(waker_data) == 9);
    return true;
}

static void waker_register(void)
{
    if (seeded == WAKER_NO_RMW) {
        crt__atomic_store(&waker_slot, 1, RELEASE);
        return;
    }
    crt__atomic_xchg(&waker_slot, 1, ACQ_REL);
    crt__atomic_fence(SEQ_CST);
}

static void waker_consumer(void *arg)
{
    (void)arg;
    while (!waker_try()) {
        waker_register();
        if (seeded != WAKER_NO_RECHECK && waker_try())
            return;
        ex_park();
    }
}

static void waker_producer(void *arg)
{
    (void)arg;
    uint32_t registered;
    EX_WRITE(waker_data) = 9;
    crt__atomic_store(&waker_ready, 1, RELEASE);
    if (seeded == WAKER_NO_RMW) {
        registered = crt__atomic_load(&waker_slot, ACQUIRE);
    } else {
        crt__atomic_fence(SEQ_CST);
        registered = crt__atomic_xchg(&waker_slot, 0, ACQ_REL);
    }
    if (registered)
        ex_unpark(waker_consumer_id);
}

static void waker_model(void)
{
    waker_ready = waker_slot = 0;
    EX_WRITE(waker_data) = 0;
    waker_consumer_id = ex_spawn(waker_consumer, NULL);
    ex_join(ex_spawn(waker_producer, NULL));
    ex_join(waker_consumer_id);
}

/* --- Vyukov's intrusive queue, many producers and one consumer */

typedef struct queue_node {
    struct queue_node *next;
    int                value;
} queue_node;

static queue_node  queue_stub, queue_nodes[2], *queue_head, *queue_tail;
static int         queue_consumer_id;

static void queue_push(queue_node *node)
{
    crt__atomic_store(&node->next, NULL, RELAXED);
    queue_node *before = crt__atomic_xchg(&queue_head, node, order_unless(QUEUE_RELAXED_XCHG, ACQ_REL));
    if (seeded == QUEUE_EARLY_WAKE)
        ex_unpark(queue_consumer_id);
    crt__atomic_store(&before->next, node, order_unless(QUEUE_RELAXED_LINK, RELEASE));
    if (seeded != QUEUE_EARLY_WAKE)
        ex_unpark(queue_consumer_id);
}

static queue_node *queue_pop(void)
{
    queue_node *next = crt__atomic_load(&queue_tail->next, ACQUIRE);
    if (next)
        queue_tail = next;
    return next;
}

static void queue_consumer(void *arg)
{
    int sum = 0;
    (void)arg;
    for (int taken = 0; taken < 2;) {
        queue_node *node = queue_pop();
        if (node) {
            sum += EX_READ(node->value);
            taken++;
        } else {
            ex_park();
        }
    }
    EX_ASSERT(sum == 3);
}

static void queue_producer(void *arg)
{
    queue_node *node = arg;
    EX_WRITE(node->value) = node == &queue_nodes[0] ? 1 : 2;
    queue_push(node);
}

static void queue_model(void)
{
    memset(queue_nodes, 0, sizeof queue_nodes);
    queue_stub.next = NULL;
    queue_head = queue_tail = &queue_stub;
    queue_consumer_id = ex_spawn(queue_consumer, NULL);
    int one = ex_spawn(queue_producer, &queue_nodes[0]), two = ex_spawn(queue_producer, &queue_nodes[1]);
    ex_join(one);
    ex_join(two);
    ex_join(queue_consumer_id);
}

/* --- Reference count: the last of two users frees the object */

typedef struct counted {
    uint32_t references;
    int      data[2];
} counted;

static counted *counted_object;

static void counted_drop(counted *object)
{
    if (seeded == COUNT_LOAD_THEN_SUB) {
        if (crt__atomic_load(&object->references, ACQUIRE) == 1)
            ex_free(object);
        else
            crt__atomic_sub(&object->references, 1, ACQ_REL);
    } else if (crt__atomic_sub(&object->references, 1, order_unless(COUNT_RELAXED_DROP, RELEASE)) == 1) {
        if (seeded != COUNT_RELAXED_DROP)
            crt__atomic_fence(ACQUIRE);
        ex_free(object);
    }
}

static void counted_user(void *arg)
{
    EX_WRITE(counted_object->data[(intptr_t)arg]) = 1;
    counted_drop(counted_object);
}

static void counted_model(void)
{
    counted_object = ex_malloc(sizeof *counted_object);
    counted_object->references = 2;
    int one = ex_spawn(counted_user, (void *)0), two = ex_spawn(counted_user, (void *)1);
    ex_join(one);
    ex_join(two);
}

/* --- Join handle: one side stores its result, the other a waker, and one word tells who was first */

enum { JOIN_COMPLETE = 1, JOIN_WAKER = 2 };

static uint32_t join_state;
static int      join_output, join_waker, join_joiner_id;

static void join_completer(void *arg)
{
    (void)arg;
    EX_WRITE(join_output) = 5;
    uint32_t before = crt__atomic_or(&join_state, JOIN_COMPLETE, order_unless(JOIN_RELAXED_COMPLETE, ACQ_REL));
    if (before & JOIN_WAKER) {
        EX_ASSERT(EX_READ(join_waker) == 1);
        ex_unpark(join_joiner_id);
    }
}

static void join_wait(void)
{
    uint32_t before;
    if (seeded == JOIN_LATE_WAKER) {
        before = crt__atomic_or(&join_state, JOIN_WAKER, ACQ_REL);
        EX_WRITE(join_waker) = 1;
    } else {
        EX_WRITE(join_waker) = 1;
        before = crt__atomic_or(&join_state, JOIN_WAKER, ACQ_REL);
    }
    if (!(before & JOIN_COMPLETE))
        ex_park();
}

static void join_joiner(void *arg)
{
    (void)arg;
    if (!(crt__atomic_load(&join_state, ACQUIRE) & JOIN_COMPLETE))
        join_wait();
    EX_ASSERT(crt__atomic_load(&join_state, ACQUIRE) & JOIN_COMPLETE);
    EX_ASSERT(EX_READ(join_output) == 5);
}

static void join_model(void)
{
    join_state = 0;
    EX_WRITE(join_output) = 0;
    EX_WRITE(join_waker) = 0;
    join_joiner_id = ex_spawn(join_joiner, NULL);
    ex_join(ex_spawn(join_completer, NULL));
    ex_join(join_joiner_id);
}

/* --- the table */

typedef struct core_test {
    const char *name;
    void      (*model)(void);
    bug         seeded;
    bool        weak_only;          /* does not exist under sequential consistency */
} core_test;

static const core_test core_tests[] = {
    { "deque", deque_model, NO_BUG, false },
    { "deque, relaxed push", deque_model, DEQUE_RELAXED_PUSH, false },
    { "deque, pop without fence", deque_model, DEQUE_NO_FENCE, true },
    { "deque, last item without cas", deque_model, DEQUE_NO_CAS, false },
    { "deque, relaxed steal", deque_model, DEQUE_RELAXED_STEAL, false },
    { "task", task_model, NO_BUG, false },
    { "task, check then idle", task_model, TASK_CHECK_THEN_IDLE, false },
    { "task, relaxed flag", task_model, TASK_RELAXED_FLAG, false },
    { "task, wake skips scheduled", task_model, TASK_WAKE_SKIPS_SCHEDULED, true },
    { "task, wake skips running", task_model, TASK_WAKE_SKIPS_RUNNING, false },
    { "task, relaxed failure order", task_model, TASK_RELAXED_FAILURE, true },
    { "task, plain reschedule", task_two_wakers_model, TASK_PLAIN_RESCHEDULE, true },
    { "sleep", sleep_model, NO_BUG, false },
    { "sleep, no recheck", sleep_model, SLEEP_NO_RECHECK, false },
    { "sleep, no fence", sleep_model, SLEEP_NO_FENCE, true },
    { "waker", waker_model, NO_BUG, false },
    { "waker, no recheck", waker_model, WAKER_NO_RECHECK, false },
    { "waker, no rmw", waker_model, WAKER_NO_RMW, true },
    { "queue", queue_model, NO_BUG, false },
    { "queue, relaxed link", queue_model, QUEUE_RELAXED_LINK, false },
    { "queue, early wake", queue_model, QUEUE_EARLY_WAKE, false },
    { "queue, relaxed exchange", queue_model, QUEUE_RELAXED_XCHG, true },
    { "count", counted_model, NO_BUG, false },
    { "count, relaxed drop", counted_model, COUNT_RELAXED_DROP, false },
    { "count, load then sub", counted_model, COUNT_LOAD_THEN_SUB, false },
    { "join", join_model, NO_BUG, false },
    { "join, late waker", join_model, JOIN_LATE_WAKER, false },
    { "join, relaxed complete", join_model, JOIN_RELAXED_COMPLETE, false },
};

static bool verbose;

static void test_core_run(const core_test *test, ex_strategy strategy, bool weak)
{
    ex_config config = configure(strategy, weak);
    bool expected = test->seeded != NO_BUG && (weak || !test->weak_only);
    config.max_executions = strategy >= EX_RANDOM ? 10000 : 0;
    config.max_seconds = 10;
    ex_result result = ex_run(test->name, config, test->model);
    check(result.failed == expected, "%s, %s, weak %d: %s", test->name, ex_strategy_name[strategy], weak,
          result.failed ? result.message : "not found");
    if (!expected && strategy <= EX_DPOR)
        check(result.exhausted, "%s, %s, weak %d: not exhausted", test->name, ex_strategy_name[strategy], weak);
    if (verbose)
        printf("%-30s %-6s weak=%d %-9s %8llu executions, %6.1f thousand/s  %s\n", test->name,
               ex_strategy_name[strategy], weak,
               result.failed ? "found" : result.exhausted ? "exhausted" : "budget",
               (unsigned long long)result.executions,
               (double)result.executions / (result.seconds + 1e-9) / 1000, result.message);
}

static void test_core(const core_test *test)
{
    seeded = test->seeded;
    test_core_run(test, EX_DPOR, false);
    test_core_run(test, EX_DPOR, true);
    test_core_run(test, EX_RANDOM, true);
    test_core_run(test, EX_PCT, true);
}

#define COUNT(array) (sizeof(array) / sizeof (array)[0])

int main(int argc, char **argv)
{
    verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
    ex_thread_local(&local, sizeof local);
    test_outside();
    for (size_t i = 0; i < COUNT(litmus_tests); i++)
        test_litmus(&litmus_tests[i]);
    test_random_programs();
    for (size_t i = 0; i < COUNT(detector_tests); i++)
        test_detector(&detector_tests[i]);
    test_options();
    for (size_t i = 0; i < COUNT(core_tests); i++)
        test_core(&core_tests[i]);
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
