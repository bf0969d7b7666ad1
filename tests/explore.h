/* explore.h - run a small concurrent program under every interleaving.
 *
 * A stress test runs a program a million times and hopes that the scheduler does something unusual.
 * The explorer takes the scheduler's place. The threads of a MODEL (a small test program) are fibers
 * on one real thread, and at every atomic operation, lock, park and futex call the explorer decides
 * who goes next. It runs the model again and again, each time with other decisions, until all of them
 * have been tried or a budget is used up.
 *
 * In weak-memory mode it also decides what a load returns. C11 lets a relaxed load return an old
 * value, so each location keeps the list of all values stored there, and clocks tell which of them the
 * loading thread could still see. This finds missing release and acquire orders whatever hardware it runs on.
 *
 * Found in every explored execution:
 *   failed EX_ASSERTs; data races on plain data that is accessed through EX_READ / EX_WRITE; use after
 *   free, double free, access past the end and leaks of ex_malloc memory; deadlocks (which is what a
 *   lost wake-up looks like); executions that do not end (livelock).
 *
 * How to use it with crt.h:
 *
 *     #define CRT_ATOMICS_HEADER "explore.h"
 *     #define CRT_IMPLEMENTATION
 *     #include "crt.h"
 *
 *     static uint32_t flag;
 *     static int      data;
 *
 *     static void writer(void *arg)
 *     {
 *         (void)arg;
 *         EX_WRITE(data) = 42;
 *         crt__atomic_store(&flag, 1, CRT__RELEASE);
 *     }
 *
 *     static void model(void)             // runs as thread 0, once per execution
 *     {
 *         flag = 0;                       // statics survive from one execution to the next
 *         EX_WRITE(data) = 0;
 *         int id = ex_spawn(writer, NULL);
 *         if (crt__atomic_load(&flag, CRT__ACQUIRE))
 *             EX_ASSERT(EX_READ(data) == 42);
 *         ex_join(id);
 *     }
 *
 *     static const ex_model models[] = { { .name = "message", .run = model } };
 *     int main(int argc, char **argv) { return ex_main(argc, argv, models, 1); }
 *
 * A model must be deterministic: apart from ex_choose it must not use time, random numbers, addresses
 * or anything that an earlier execution left behind, because an execution is repeated by repeating
 * its decisions.
 *
 * Strategies:
 *   EX_DFS     depth-first through all schedules. With preemption_bound = N only those in which at
 *              most N times a thread is interrupted that could have gone on; most bugs need 2.
 *   EX_SLEEP   depth-first without schedules that only swap independent steps (sleep sets).
 *   EX_DPOR    sleep sets plus dynamic partial-order reduction: another order is tried only where two
 *              steps really depend on each other. Same verdicts as EX_DFS, far fewer executions.
 *   EX_RANDOM  random decisions from a seed. The best first filter.
 *   EX_PCT     random priorities with a few random changes; good at bugs that need a long delay.
 * "exhausted" for DFS without a bound, SLEEP and DPOR means: no other behaviour exists within the
 * limits below. A preemption bound cannot be combined with SLEEP or DPOR (the bound would cut off
 * schedules that the reduction relies on), so those two ignore it.
 *
 * A failure prints a line that replays it: the program's name, the model and the decisions. With
 * verbose=2 the replay lists every step.
 *
 * Known limits:
 *   - A release sequence consists of read-modify-writes only, as in C++20. (C11 also let later plain
 *     stores of the releasing thread belong to it. Code that relies on that is reported.)
 *   - Load buffering is not simulated: no load returns a value that is stored later.
 *   - After crt__cpu_relax a thread waits until another one made a step, and does not read the same
 *     outdated value again. Executions in which it spins on without that are not explored.
 *   - Accesses are matched by their first byte: overlapping accesses at different addresses or of
 *     different sizes do not see each other's races and old values.
 *   - EX_MAX_THREADS threads, EX_MAX_CHOICES candidates for one load.
 *   - AddressSanitizer does not understand the switches between stacks.
 *   - All fibers share one real thread and thus its _Thread_local variables; name those that the
 *     code under test uses with ex_thread_local.
 */
#ifndef EXPLORE_H
#define EXPLORE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>

#if defined __USE_FORTIFY_LEVEL && __USE_FORTIFY_LEVEL > 0
#error "build with -U_FORTIFY_SOURCE: the checked longjmp refuses to switch between stacks"
#endif
#if UINTPTR_MAX != UINT64_MAX
#error "the explorer keeps values in 64 bits and needs a 64-bit host"
#endif

/* Not every model uses every function. */
#define EX_API static __attribute__((unused))

/* ------------------------------------------------------------------------------------------------
 * Interface
 * ---------------------------------------------------------------------------------------------- */

enum {
    EX_MAX_THREADS   = 8,       /* including the model function itself, which is thread 0 */
    EX_MAX_STEPS     = 20000,   /* upper limit for ex_config.max_steps */
    EX_MAX_CHOICES   = 26,      /* a decision is written as one letter in the replay string */
    EX_MAX_LOCATIONS = 8192,
    EX_MAX_BLOCKS    = 4096,    /* ex_malloc calls per thread and execution */
    EX_MAX_LOCALS    = 8,
    EX_LOCALS_SIZE   = 256
};

typedef enum ex_strategy { EX_DFS, EX_SLEEP, EX_DPOR, EX_RANDOM, EX_PCT } ex_strategy;

typedef struct ex_config {
    ex_strategy strategy;
    int         preemption_bound;   /* -1: none */
    bool        weak_memory;        /* false: sequential consistency, loads return the newest value */
    uint64_t    max_executions;     /* 0: no limit */
    double      max_seconds;        /* 0: no limit */
    uint64_t    seed;               /* of EX_RANDOM and EX_PCT */
    int         pct_depth;          /* EX_PCT: depth of the bug looked for */
    int         max_steps;          /* a longer execution counts as livelock */
    int         timeouts;           /* per thread: timed waits whose time may be up at any moment. Those
                                       beyond end only when no other thread can run */
    int         spurious_wakes;     /* per thread: waits that may end for no reason */
    int         spurious_cas;       /* per thread: crt__atomic_cas_weak calls that may fail so */
    bool        allow_leaks;
    bool        allow_capped;       /* executions that reach max_steps are only counted */
    const char *replay;             /* decisions of one execution, as printed by a failure */
    int         verbose;            /* 1: print failures, 2: also print the steps of a replay */
} ex_config;

typedef struct ex_result {
    bool        failed;
    bool        exhausted;          /* everything was explored; otherwise the budget ran out */
    uint64_t    executions, steps;
    uint64_t    pruned;             /* executions given up because equivalent ones were explored */
    uint64_t    capped;             /* executions given up at max_steps */
    uint64_t    failed_at;          /* number of the failing execution */
    int         max_depth;          /* most steps in one execution */
    double      seconds;
    char        message[320];
    const char *replay;             /* valid until the next ex_run */
} ex_result;

typedef struct ex_model {
    const char *name;
    void      (*run)(void);
    bool        expect_failure;     /* a seeded bug: not finding it is the failure */
    int         timeouts, spurious_wakes, spurious_cas, max_steps; /* 0: default, -1: none */
} ex_model;

EX_API ex_config ex_default_config(void);
EX_API ex_result ex_run(const char *name, ex_config config, void (*model)(void));
EX_API int       ex_main(int argc, char **argv, const ex_model *models, int count);

/* Threads of the model. ex_self is -1 outside of a running model. */
EX_API int  ex_spawn(void (*function)(void *), void *argument);
EX_API void ex_join(int thread);
EX_API int  ex_self(void);

/* Give each thread of the model its own copy of this variable, zero at its start. */
EX_API void ex_thread_local(void *variable, size_t size);

/* A value from 0 to count - 1; all of them are tried. For injected faults and the like. */
EX_API int ex_choose(int count);

/* End this execution as a failure. */
EX_API _Noreturn void ex_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define EX_ASSERT(condition)                                                                        \
    do {                                                                                            \
        if (!(condition))                                                                           \
            ex_fail("assertion failed: %s (%s:%d)", #condition, __FILE__, __LINE__);                \
    } while (0)

/* Plain data that threads hand to each other: x = EX_READ(shared); EX_WRITE(shared) = 1; */
#define EX_READ(x)  (ex_plain_read(&(x), sizeof(x), EX_SITE(#x)), (x))
#define EX_WRITE(x) (*(__typeof__(&(x)))ex_plain_write(&(x), sizeof(x), EX_SITE(#x)))

/* Checked heap. Addresses are never used twice within one execution. */
EX_API void *ex_malloc(size_t size);
EX_API void *ex_calloc(size_t count, size_t size);
EX_API void *ex_realloc(void *pointer, size_t size);
EX_API void  ex_free(void *pointer);

/* Blocking for models without crt.h. A mutex is any address; park waits for the thread's own token. */
#define ex_lock(mutex)     ex_lock_at((mutex), EX_SITE(#mutex))
#define ex_unlock(mutex)   ex_unlock_at((mutex), EX_SITE(#mutex))
#define ex_park()          ex_park_at(EX_SITE("park"))
#define ex_unpark(thread)  ex_unpark_at((thread), EX_SITE("unpark " #thread))
#define ex_yield()         ex_yield_at(EX_SITE("yield"))

/* The place in the source that messages and traces name. */
#define EX_STRING2(x) #x
#define EX_STRING(x)  EX_STRING2(x)
#define EX_SITE(text) (__FILE__ ":" EX_STRING(__LINE__) " " text)

/* ------------------------------------------------------------------------------------------------
 * Data structures
 * ---------------------------------------------------------------------------------------------- */

enum {
    EX_MAX_TRAIL   = 4 * EX_MAX_STEPS,
    EX_MAX_STORES  = EX_MAX_STEPS + EX_MAX_LOCATIONS,
    EX_SLOTS       = 2 * EX_MAX_LOCATIONS,      /* of the hash table, a power of two */
    EX_STACK_SIZE  = 256 * 1024,
    EX_GUARD_SIZE  = 4096,
    EX_GRANULE     = 64,                        /* alignment of heap blocks */
    EX_HEAP_SIZE   = 4 << 20,                   /* per thread */
    EX_GRANULES    = EX_HEAP_SIZE / EX_GRANULE
};

/* A vector clock: for each thread, how much of its past is known. 16 bits are enough because a
 * thread's time advances at most a few times per step. */
typedef struct ex_clock {
    uint16_t of[EX_MAX_THREADS];
} ex_clock;

/* What a thread knows. `happens` is the happens-before relation of C11 and decides about data races.
 * `visible` is what its loads must not miss. It contains `happens` and also what seq_cst fences have
 * ordered: those make stores visible without making plain data safe to touch. */
typedef struct ex_view {
    ex_clock happens, visible;
} ex_view;

/* One value in the history of a location. The list is in modification order, newest first. */
typedef struct ex_store {
    struct ex_store *older;
    uint64_t         value;
    ex_view          view;              /* what a thread learns that acquires this value */
    ex_clock         first_read;        /* by thread: its time when it first read this value, */
    ex_clock         stale_read;        /*  ... and when it first did so although there was a newer one */
    uint32_t         seq_cst_number;    /* place of the first seq_cst access in their total order, or 0 */
    uint16_t         time;              /* of the storing thread; 0: initial value */
    uint8_t          thread;
    bool             is_rmw;            /* read `older`, so that nothing may come between the two */
} ex_store;

typedef enum ex_access {
    EX_PLAIN_READ, EX_PLAIN_WRITE, EX_ATOMIC_READ, EX_ATOMIC_WRITE, EX_ACCESSES
} ex_access;

typedef struct ex_location {
    const void *address;
    ex_store   *newest;                 /* NULL: no atomic access since the last plain write */
    ex_clock    accessed[EX_ACCESSES];  /* by thread: time of its last access of each kind */
    ex_view     guarded;                /* as a mutex: what the next owner learns */
    int         owner;                  /* as a mutex: -1 if free */
} ex_location;

typedef struct ex_slot {
    uint32_t execution, index;          /* the slot is empty if it is from another execution */
} ex_slot;

typedef struct ex_block {
    size_t   offset, size;
    ex_clock touched;                   /* by thread: time of its last access */
    int      freed_by;                  /* -1: still in use */
} ex_block;

/* Each thread allocates from its own region, so that the addresses a thread gets do not depend on what
 * other threads do meanwhile. */
typedef struct ex_heap {
    char    *memory;
    size_t   used;
    int      count;
    ex_block blocks[EX_MAX_BLOCKS];
    uint16_t block_of[EX_GRANULES];     /* block number + 1 */
} ex_heap;

typedef enum ex_kind {
    EX_OP_START, EX_OP_LOAD, EX_OP_STORE, EX_OP_RMW, EX_OP_FENCE, EX_OP_LOCK, EX_OP_UNLOCK, EX_OP_PARK,
    EX_OP_UNPARK, EX_OP_JOIN, EX_OP_FUTEX_WAIT, EX_OP_FUTEX_SLEEP, EX_OP_FUTEX_WAKE, EX_OP_FREE
} ex_kind;

/* An operation that a thread is about to do. */
typedef struct ex_op {
    ex_kind     kind;
    uint32_t    size;
    const void *address;
    const char *site;
    bool        seq_cst;
    bool        global;                 /* does not commute with anything */
    bool        needs_wake;             /* EX_OP_FUTEX_SLEEP: cannot end in any other way */
    int         target;                 /* EX_OP_JOIN: the thread */
} ex_op;

typedef struct ex_thread {
    void   (*function)(void *);
    void    *argument;
    ex_op    pending;                   /* what it does when it is scheduled next */
    bool     entered, done;
    ex_view  now;                       /* what it knows */
    ex_view  acquired;                  /* seen by relaxed loads: known after an acquire fence */
    ex_view  released;                  /* known at the last release fence: published by relaxed stores */
    uint32_t fence_number;              /* place of its last seq_cst fence in the total order */
    uint16_t relax_time;                /* its time at the last crt__cpu_relax */
    bool     yielded;                   /* waits for a step of any other thread, and */
    unsigned waits_for;                 /* for a step of each of these */
    unsigned stepped;                   /* those who made one since it yielded last */
    bool     token;                     /* ex_unpark was called */
    ex_view  token_view;
    const uint32_t *futex;              /* sleeps on this address */
    bool     woken, timed;
    int      timeouts_left, spurious_wakes_left, spurious_cas_left;
    ex_clock order;                     /* for DPOR: the steps that come before its next one in any
                                           equivalent schedule */
    int      priority;                  /* for PCT */
    char     locals[EX_LOCALS_SIZE];    /* its copy of the thread-local variables */
} ex_thread;

/* The stack of a thread. It is entered once and then reused: `base` leads back to its first frame. */
typedef struct ex_fiber {
    char      *stack;
    bool       ready;
    jmp_buf    base, context;
    ucontext_t first;
} ex_fiber;

/* A decision of the depth-first strategies: which thread goes next, or which of several values. Sets
 * of threads are bit masks. */
typedef struct ex_node {
    bool    is_value;
    uint8_t value, count;               /* of a value */
    uint8_t chosen;                     /* the thread, and ... */
    uint8_t candidates;                 /* ... those that could run */
    uint8_t asleep;                     /* not worth running: explored from an equivalent state */
    uint8_t done;                       /* explored from here */
    uint8_t backtrack;                  /* to be explored from here */
    uint8_t yielding;                   /* called crt__cpu_relax after the step that was chosen here */
    int     step;                       /* number of steps before this decision */
} ex_node;

typedef struct ex_step {
    int      thread;
    int      node;                      /* the decision that chose it, -1: there was no choice */
    unsigned runnable;                  /* threads that could have gone instead, and this one */
    ex_op    op;
    ex_clock order;                     /* for DPOR */
} ex_step;

typedef enum ex_ending { EX_FINISHED, EX_FAILED, EX_PRUNED, EX_CAPPED } ex_ending;

typedef struct ex_local {
    void  *variable;
    size_t size;
} ex_local;

static struct {
    ex_config   config;
    const char *program;                /* of the line that replays a failure */
    const char *model_name;
    void      (*model)(void);
    bool        running, failed, tracing;
    char        message[320];
    uint64_t    random;

    /* threads */
    int         current, thread_count, live_count;
    ex_thread   threads[EX_MAX_THREADS];
    ex_fiber    fibers[EX_MAX_THREADS];
    jmp_buf     home;                   /* back to ex_run */
    ex_ending   ending;
    ex_local    locals[EX_MAX_LOCALS];
    int         local_count;
    size_t      local_size;

    /* this execution */
    uint32_t    execution;
    ex_step     steps[EX_MAX_STEPS];
    int         step_count;
    int         previous;               /* thread of the last step, -1 */
    int         preemptions;
    unsigned    asleep;
    char        trail[EX_MAX_TRAIL];    /* all decisions, to replay them */
    int         trail_length;

    /* the tree of decisions */
    ex_node     nodes[EX_MAX_TRAIL];
    int         node_count;             /* known decisions: the path that is being explored */
    int         depth;                  /* decisions made in this execution */
    int         known_steps;            /* steps that are the same as in the execution before */

    /* other strategies */
    char        replay[EX_MAX_TRAIL];
    int         replay_length, replay_at;
    int         pct_change[8], pct_lowest, longest;
    char        replay_text[2 * EX_MAX_TRAIL];

    /* memory */
    ex_slot     slots[EX_SLOTS];
    ex_location locations[EX_MAX_LOCATIONS];
    uint32_t    location_count;
    ex_store    stores[EX_MAX_STORES];
    int         store_count;
    uint32_t    seq_cst_count;
    ex_clock    seq_cst_visible;        /* what seq_cst fences have made visible to later ones */
    ex_heap     heaps[EX_MAX_THREADS];
} ex;

static const char *const ex_kind_name[] = {
    "start", "load", "store", "rmw", "fence", "lock", "unlock", "park",
    "unpark", "join", "futex-wait", "futex-sleep", "futex-wake", "free"
};
static const char *const ex_strategy_name[] = { "dfs", "sleep", "dpor", "random", "pct" };

/* ------------------------------------------------------------------------------------------------
 * Small helpers
 * ---------------------------------------------------------------------------------------------- */

static inline void ex_clock_join(ex_clock *into, const ex_clock *from)
{
    for (int i = 0; i < EX_MAX_THREADS; i++)
        into->of[i] = into->of[i] > from->of[i] ? into->of[i] : from->of[i];
}

/* Is everything in `part` known to `whole`? */
static inline bool ex_clock_covers(const ex_clock *whole, const ex_clock *part)
{
    for (int i = 0; i < EX_MAX_THREADS; i++)
        if (part->of[i] > whole->of[i])
            return false;
    return true;
}

static inline void ex_view_join(ex_view *into, const ex_view *from)
{
    ex_clock_join(&into->happens, &from->happens);
    ex_clock_join(&into->visible, &from->visible);
}

static inline ex_thread *ex_me(void)
{
    return &ex.threads[ex.current];
}

static inline uint16_t ex_time(void)
{
    return ex_me()->now.happens.of[ex.current];
}

/* Start a new moment of this thread. Called after each operation that may have published the thread's
 * view, so that what it does next is not taken for known by those who read that view. */
static inline void ex_tick(void)
{
    ex_thread *me = ex_me();
    me->now.visible.of[ex.current] = ++me->now.happens.of[ex.current];
}

static inline bool ex_is_acquire(int order)
{
    return order == __ATOMIC_ACQUIRE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST
        || order == __ATOMIC_CONSUME;
}

static inline bool ex_is_release(int order)
{
    return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static inline bool ex_is_reduced(void)      /* does the strategy skip equivalent schedules? */
{
    return ex.config.strategy == EX_SLEEP || ex.config.strategy == EX_DPOR;
}

static inline bool ex_is_tree(void)         /* does the strategy remember its decisions? */
{
    return ex.config.strategy <= EX_DPOR && !ex.config.replay;
}

static uint64_t ex_random(void)             /* xorshift64* */
{
    ex.random ^= ex.random >> 12;
    ex.random ^= ex.random << 25;
    ex.random ^= ex.random >> 27;
    return (ex.random * 0x2545F4914F6CDD1Dull) >> 16;
}

static clockid_t ex_budget_clock = CLOCK_MONOTONIC;  /* or of the processor, where others compete for it */
static double ex_seconds(void)
{
    struct timespec now;
    clock_gettime(ex_budget_clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* For mistakes in the use of the explorer itself. */
_Noreturn static void ex_die(const char *what)
{
    fprintf(stderr, "explore: %s\n", what);
    abort();
}

/* One line of a replayed execution. */
#define ex_trace(...)                       \
    do {                                    \
        if (ex.tracing)                     \
            ex_print_trace(__VA_ARGS__);    \
    } while (0)

__attribute__((format(printf, 1, 2)))
static void ex_print_trace(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("  %4d  T%d  ", ex.step_count, ex.current);
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
}

static const char *ex_order_name(int order)
{
    switch (order) {
    case __ATOMIC_RELAXED: return "relaxed";
    case __ATOMIC_CONSUME:
    case __ATOMIC_ACQUIRE: return "acquire";
    case __ATOMIC_RELEASE: return "release";
    case __ATOMIC_ACQ_REL: return "acq_rel";
    default:               return "seq_cst";
    }
}

/* ------------------------------------------------------------------------------------------------
 * Fibers
 *
 * A fiber is entered once with setcontext. From then on _setjmp and _longjmp switch: they make no
 * system call, which makes exploring several times faster. Code that is abandoned in the middle of an
 * execution is never resumed; the next execution jumps back to the first frame of the fiber.
 * ---------------------------------------------------------------------------------------------- */

static void ex_thread_body(void);

static void ex_fiber_main(void)
{
    _setjmp(ex.fibers[ex.current].base);
    ex_thread_body();
}

static void ex_fiber_create(int id)
{
    ex_fiber *fiber = &ex.fibers[id];
    char *memory = mmap(NULL, EX_GUARD_SIZE + EX_STACK_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, EX_GUARD_SIZE, PROT_NONE) != 0)
        ex_die("no memory for a stack");
    fiber->stack = memory + EX_GUARD_SIZE;
    getcontext(&fiber->first);
    fiber->first.uc_stack.ss_sp = fiber->stack;
    fiber->first.uc_stack.ss_size = EX_STACK_SIZE;
    fiber->first.uc_link = NULL;
    makecontext(&fiber->first, ex_fiber_main, 0);
}

static void ex_save_locals(int id)
{
    char *copy = ex.threads[id].locals;
    for (int i = 0; i < ex.local_count; copy += ex.locals[i++].size)
        memcpy(copy, ex.locals[i].variable, ex.locals[i].size);
}

static void ex_restore_locals(int id)
{
    const char *copy = ex.threads[id].locals;
    for (int i = 0; i < ex.local_count; copy += ex.locals[i++].size)
        memcpy(ex.locals[i].variable, copy, ex.locals[i].size);
}

/* Continue a thread and forget where we are. */
_Noreturn static void ex_jump(int id)
{
    ex_thread *thread = &ex.threads[id];
    ex_fiber *fiber = &ex.fibers[id];
    ex.current = id;
    ex_restore_locals(id);
    if (thread->entered)
        _longjmp(fiber->context, 1);
    thread->entered = true;
    if (fiber->ready)
        _longjmp(fiber->base, 1);
    fiber->ready = true;
    ex_fiber_create(id);
    setcontext(&fiber->first);
    ex_die("setcontext failed");
}

__attribute__((noinline))
static void ex_switch(int id)
{
    ex_save_locals(ex.current);
    if (_setjmp(ex.fibers[ex.current].context) == 0)
        ex_jump(id);
}

/* End the execution: abandon all fibers and return to ex_run. */
_Noreturn static void ex_end(ex_ending ending)
{
    ex.ending = ending;
    _longjmp(ex.home, 1);
}

EX_API _Noreturn void ex_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(ex.message, sizeof ex.message, format, arguments);
    va_end(arguments);
    if (!ex.running)
        ex_die(ex.message);
    ex.failed = true;
    ex_trace("%s", ex.message);
    ex_end(EX_FAILED);
}

EX_API void ex_thread_local(void *variable, size_t size)
{
    for (int i = 0; i < ex.local_count; i++)
        if (ex.locals[i].variable == variable)
            return;
    if (ex.local_count == EX_MAX_LOCALS || ex.local_size + size > EX_LOCALS_SIZE)
        ex_die("too many thread-local variables");
    if (ex.thread_count > 1 && ex.running)
        ex_die("ex_thread_local after ex_spawn");
    ex.locals[ex.local_count++] = (ex_local){ variable, size };
    ex.local_size += size;
}

/* ------------------------------------------------------------------------------------------------
 * Decisions about values
 * ---------------------------------------------------------------------------------------------- */

static void ex_record(char decision)
{
    if (ex.trail_length == EX_MAX_TRAIL)
        ex_end(EX_CAPPED);
    ex.trail[ex.trail_length++] = decision;
}

/* The next decision of the replayed execution, 0 at its end. */
static char ex_next_replayed(void)
{
    return ex.replay_at < ex.replay_length ? ex.replay[ex.replay_at++] : 0;
}

static int ex_replayed_value(int count)
{
    char decision = ex_next_replayed();
    if (!decision)
        return 0;
    if (decision < 'a' || decision >= 'a' + count)
        ex_fail("this replay string belongs to another model or another configuration");
    return decision - 'a';
}

static ex_node *ex_new_node(void)
{
    if (ex.depth == EX_MAX_TRAIL)
        ex_end(EX_CAPPED);
    ex_node *node = &ex.nodes[ex.depth++];
    memset(node, 0, sizeof *node);
    node->step = ex.step_count;
    ex.node_count = ex.depth;
    return node;
}

static int ex_tree_value(int count)
{
    if (ex.depth < ex.node_count)
        return ex.nodes[ex.depth++].value;
    ex_node *node = ex_new_node();
    node->is_value = true;
    node->count = (uint8_t)count;
    return 0;
}

static int ex_value(int count)
{
    int value;
    if (count <= 1)
        return 0;
    if (count > EX_MAX_CHOICES)
        ex_die("ex_choose: too many alternatives");
    if (ex.config.replay)
        value = ex_replayed_value(count);
    else if (ex_is_tree())
        value = ex_tree_value(count);
    else
        value = (int)(ex_random() % (unsigned)count);
    ex_record((char)('a' + value));
    return value;
}

EX_API int ex_choose(int count)
{
    if (!ex.running)
        return 0;
    int value = ex_value(count);
    ex_trace("choose %d of %d", value, count);
    return value;
}

/* ------------------------------------------------------------------------------------------------
 * Which operations depend on each other
 *
 * Two neighbouring steps of different threads that do not depend on each other can be swapped without
 * changing anything. Sleep sets and DPOR explore only one order of those.
 * ---------------------------------------------------------------------------------------------- */

static bool ex_overlap(const ex_op *a, const ex_op *b)
{
    uintptr_t first = (uintptr_t)a->address, second = (uintptr_t)b->address;
    return first < second + b->size && second < first + a->size;
}

static bool ex_dependent(const ex_op *a, const ex_op *b)
{
    if (a->global || b->global)
        return true;
    if (a->kind == EX_OP_FENCE || b->kind == EX_OP_FENCE)
        return a->seq_cst && b->seq_cst;
    if (a->kind == EX_OP_LOAD && b->kind == EX_OP_LOAD && !(a->seq_cst && b->seq_cst))
        return false;           /* but a seq_cst load limits what later ones may return */
    if (a->kind == EX_OP_FUTEX_SLEEP && b->kind != EX_OP_FUTEX_WAKE)
        return false;
    if (b->kind == EX_OP_FUTEX_SLEEP && a->kind != EX_OP_FUTEX_WAKE)
        return false;
    return ex_overlap(a, b);
}

/* Was `later` impossible before `earlier`, so that there is no other order of the two? */
static bool ex_enables(const ex_op *earlier, const ex_op *later)
{
    if (earlier->kind == EX_OP_UNLOCK && later->kind == EX_OP_LOCK)
        return true;
    return earlier->kind == EX_OP_FUTEX_WAKE && later->needs_wake;
}

/* ------------------------------------------------------------------------------------------------
 * Dynamic partial-order reduction
 *
 * Source-DPOR of Abdulla, Aronis, Jonsson and Sagonas, "Optimal dynamic partial order reduction" (POPL
 * 2014). Each recorded step has a vector clock of the steps that have to come before it. Two dependent
 * steps without a third one in between race; then a schedule with the later one first is worth trying.
 * It may start with any thread that can be moved to the front of the steps that lead to the later one
 * without the earlier one; if none of these is planned at the decision for the earlier one, one is
 * added. (Adding the thread of the later step, as the original DPOR does, is not enough when combined
 * with sleep sets.)
 * ---------------------------------------------------------------------------------------------- */

static inline bool ex_comes_after(const ex_clock *order, const ex_step *step)
{
    return order->of[step->thread] >= step->order.of[step->thread];
}

/* `first` holds for each thread the number of its first step in a sequence, or 0. */
static bool ex_is_independent_of(const ex_clock *order, const ex_clock *first)
{
    for (int i = 0; i < EX_MAX_THREADS; i++)
        if (first->of[i] && order->of[i] >= first->of[i])
            return false;
    return true;
}

/* The threads that could go first in: all steps after `skipped` that need not come after it, followed by
 * a new step of `thread`. */
static unsigned ex_initials(int skipped, int thread, const ex_clock *order)
{
    ex_clock first = { { 0 } };
    unsigned set = 0;
    for (int i = skipped + 1; i < ex.step_count; i++) {
        const ex_step *step = &ex.steps[i];
        if (ex_comes_after(&step->order, &ex.steps[skipped]))
            continue;
        if (ex_is_independent_of(&step->order, &first))
            set |= 1u << step->thread;
        if (!first.of[step->thread])
            first.of[step->thread] = step->order.of[step->thread];
    }
    return ex_is_independent_of(order, &first) ? set | 1u << thread : set;
}

static void ex_plan_reversal(int earlier, int thread, const ex_clock *order)
{
    if (ex.steps[earlier].node < 0)
        return;
    ex_node *node = &ex.nodes[ex.steps[earlier].node];
    unsigned initials = ex_initials(earlier, thread, order);
    if (initials & node->backtrack)
        return;
    if (initials & node->candidates)
        node->backtrack |= (uint8_t)(1u << __builtin_ctz(initials & node->candidates));
    else
        node->backtrack = node->candidates;     /* not possible there: try whatever is */
}

/* `thread` does `op` after all recorded steps. Plan the reversal of its races, and return its clock. */
static ex_clock ex_find_races(int thread, const ex_op *op)
{
    ex_clock order = ex.threads[thread].order;
    ex_clock between = order;           /* after which of the steps comes something that op comes after? */
    for (int i = ex.step_count - 1; i >= 0; i--) {
        const ex_step *step = &ex.steps[i];
        if (ex_comes_after(&between, step) || !ex_dependent(&step->op, op))
            continue;
        bool enables = ex_enables(&step->op, op);
        if (!enables)
            ex_plan_reversal(i, thread, &order);
        /* If this may be a step that the thread has waited for, then the race is with an earlier one:
         * keep looking. */
        bool waited = !(step->runnable >> thread & 1) || (op->kind == EX_OP_FUTEX_SLEEP && op->global);
        if (!enables && !waited)
            ex_clock_join(&between, &step->order);
        ex_clock_join(&order, &step->order);
    }
    order.of[thread]++;
    return order;
}

/* What threads were about to do when the execution ended may race with what was done, too. */
static void ex_find_last_races(void)
{
    for (int i = 0; i < ex.thread_count; i++)
        if (!ex.threads[i].done)
            (void)ex_find_races(i, &ex.threads[i].pending);
}

/* ------------------------------------------------------------------------------------------------
 * Scheduler
 * ---------------------------------------------------------------------------------------------- */

static ex_location *ex_locate(const void *address);

static bool ex_can_end_early(const ex_thread *thread)
{
    return (thread->timed && thread->timeouts_left > 0) || thread->spurious_wakes_left > 0;
}

static bool ex_enabled(const ex_thread *thread)
{
    if (thread->done)
        return false;
    switch (thread->pending.kind) {
    case EX_OP_LOCK:        return ex_locate(thread->pending.address)->owner < 0;
    case EX_OP_PARK:        return thread->token;
    case EX_OP_JOIN:        return ex.threads[thread->pending.target].done;
    case EX_OP_FUTEX_SLEEP: return thread->woken || ex_can_end_early(thread);
    default:                return true;
    }
}

/* A thread whose next step concerns no other thread: it just begins, or joins one that has ended.
 * There is nothing to decide, it goes first. */
static int ex_find_local(void)
{
    for (int i = 0; i < ex.thread_count; i++) {
        const ex_thread *thread = &ex.threads[i];
        if (!thread->done && (thread->pending.kind == EX_OP_START
                              || (thread->pending.kind == EX_OP_JOIN && ex_enabled(thread))))
            return i;
    }
    return -1;
}

static unsigned ex_enabled_set(void)
{
    unsigned set = 0;
    for (int i = 0; i < ex.thread_count; i++)
        if (ex_enabled(&ex.threads[i]))
            set |= 1u << i;
    return set;
}

/* A thread that spins waits for others. A step of any of them is enough at first, but two threads that
 * spin must not keep each other going while a third one, for which both wait, gets no chance: whoever
 * could run and did not between two yields has to go before the thread yields again. */
static void ex_wait_for_others(void)
{
    ex_thread *me = ex_me();
    me->yielded = true;
    me->waits_for = ex_enabled_set() & ~me->stepped & ~(1u << ex.current);
    me->stepped = 0;
}

static void ex_end_waits_for(int stepping)
{
    for (int i = 0; i < ex.thread_count; i++) {
        ex.threads[i].yielded = false;
        ex.threads[i].waits_for &= ~(1u << stepping);
        ex.threads[i].stepped |= 1u << stepping;
    }
}

/* The threads that may go next. Time passes only when all others wait, and those who said that they
 * have nothing useful to do come last. */
static unsigned ex_runnable(void)
{
    unsigned enabled = ex_enabled_set(), ready = enabled, timed = 0;
    for (int i = 0; i < ex.thread_count; i++) {
        const ex_thread *thread = &ex.threads[i];
        if (thread->yielded || (thread->waits_for & enabled))
            ready &= ~(1u << i);
        if (!thread->done && thread->pending.kind == EX_OP_FUTEX_SLEEP && thread->timed)
            timed |= 1u << i;
    }
    return ready ? ready : timed ? timed : enabled;
}

_Noreturn static void ex_report_deadlock(void)
{
    char text[256] = "";
    size_t length = 0;
    for (int i = 0; i < ex.thread_count && length < sizeof text; i++)
        if (!ex.threads[i].done)
            length += (size_t)snprintf(text + length, sizeof text - length, "; T%d waits in %s, %s", i,
                                       ex_kind_name[ex.threads[i].pending.kind], ex.threads[i].pending.site);
    ex_fail("deadlock or lost wake-up%s", text);
}

static int ex_lowest(unsigned set)
{
    return __builtin_ctz(set);
}

static int ex_replayed_thread(unsigned runnable)
{
    char decision = ex_next_replayed();
    int thread = decision - 'A';
    if (!decision)
        return ex_lowest(runnable);
    if (thread < 0 || thread >= EX_MAX_THREADS || !(runnable >> thread & 1))
        ex_fail("this replay string belongs to another model or another configuration");
    return thread;
}

static int ex_random_thread(unsigned candidates)
{
    for (int skip = (int)(ex_random() % (unsigned)__builtin_popcount(candidates)); skip > 0; skip--)
        candidates &= candidates - 1;
    return ex_lowest(candidates);
}

/* Always run the thread with the highest priority; at a few random steps the running one drops to the
 * lowest. Threads that spin drop as well. */
static int ex_pct_thread(unsigned candidates)
{
    int best = -1;
    for (int i = 0; i < ex.config.pct_depth - 1; i++)
        if (ex.pct_change[i] == ex.step_count && ex.previous >= 0)
            ex.threads[ex.previous].priority = --ex.pct_lowest;
    for (int i = 0; i < ex.thread_count; i++)
        if ((candidates >> i & 1) && (best < 0 || ex.threads[i].priority > ex.threads[best].priority))
            best = i;
    return best;
}

static int ex_tree_thread(unsigned candidates, int *node_index)
{
    unsigned awake = candidates;
    if (ex_is_reduced()) {
        awake &= ~ex.asleep;
        if (!awake)
            ex_end(EX_PRUNED);
    }
    if (!(candidates & (candidates - 1)))
        return ex_lowest(candidates);
    *node_index = ex.depth;
    if (ex.depth < ex.node_count)
        return ex.nodes[ex.depth++].chosen;

    ex_node *node = ex_new_node();
    bool stay = ex.previous >= 0 && (awake >> ex.previous & 1);
    node->chosen = (uint8_t)(stay ? ex.previous : ex_lowest(awake));
    node->candidates = (uint8_t)candidates;
    node->asleep = (uint8_t)ex.asleep;
    node->backtrack = (uint8_t)(ex.config.strategy == EX_DPOR ? 1u << node->chosen : candidates);
    return node->chosen;
}

static int ex_choose_thread(unsigned runnable, unsigned candidates, int *node)
{
    if (ex.config.replay)
        return ex_replayed_thread(runnable);
    if (ex.config.strategy == EX_RANDOM)
        return ex_random_thread(candidates);
    if (ex.config.strategy == EX_PCT)
        return ex_pct_thread(candidates);
    return ex_tree_thread(candidates, node);
}

/* A thread sleeps if running it now leads to what was explored already: it was tried at an earlier
 * decision, and all steps since then could be swapped with its own. */
static void ex_update_asleep(int pick, const ex_op *op, int node)
{
    unsigned before = ex.asleep;
    if (node >= 0)
        before |= (unsigned)(ex.nodes[node].done & ~ex.nodes[node].yielding);
    ex.asleep = 0;
    for (int i = 0; i < ex.thread_count; i++)
        if ((before >> i & 1) && i != pick && !ex_dependent(&ex.threads[i].pending, op))
            ex.asleep |= 1u << i;
}

static void ex_update_order(int pick, const ex_op *op)
{
    if (ex.step_count < ex.known_steps)         /* as in the execution before */
        ex.threads[pick].order = ex.steps[ex.step_count].order;
    else
        ex.threads[pick].order = ex_find_races(pick, op);
}

static void ex_take_step(int pick, int node, unsigned runnable)
{
    ex_thread *thread = &ex.threads[pick];
    const ex_op *op = &thread->pending;
    ex_record((char)('A' + pick));
    if (ex.previous >= 0 && pick != ex.previous && (runnable >> ex.previous & 1))
        ex.preemptions++;
    if (ex_is_tree() && ex_is_reduced())
        ex_update_asleep(pick, op, node);
    if (ex_is_tree() && ex.config.strategy == EX_DPOR)
        ex_update_order(pick, op);
    ex.steps[ex.step_count++] = (ex_step){ pick, node, runnable, *op, thread->order };
    ex_end_waits_for(pick);
    ex.previous = pick;
}

/* Choose the thread that goes next. Does not return if the execution ends here. */
static int ex_schedule(void)
{
    int local = ex_find_local(), node = -1;
    if (local >= 0)
        return local;
    if (ex.live_count == 0)
        ex_end(EX_FINISHED);
    unsigned runnable = ex_runnable();
    if (!runnable)
        ex_report_deadlock();
    if (ex.step_count >= ex.config.max_steps)
        ex_end(EX_CAPPED);
    unsigned candidates = runnable;
    bool may_stay = ex.previous >= 0 && (runnable >> ex.previous & 1);
    if (ex.config.preemption_bound >= 0 && may_stay && ex.preemptions >= ex.config.preemption_bound)
        candidates = 1u << ex.previous;
    int pick = ex_choose_thread(runnable, candidates, &node);
    ex_take_step(pick, node, runnable);
    return pick;
}

/* Announce the next operation and let the scheduler decide. The operation happens when we are back. */
static void ex_point(ex_op op)
{
    if (!ex.running)
        ex_die("this operation works only inside of a model");
    ex_me()->pending = op;
    int next = ex_schedule();
    if (next != ex.current)
        ex_switch(next);
}

/* ------------------------------------------------------------------------------------------------
 * Threads
 * ---------------------------------------------------------------------------------------------- */

static void ex_thread_body(void)
{
    ex_me()->function(ex_me()->argument);
    ex_me()->done = true;
    ex.live_count--;
    ex_save_locals(ex.current);
    ex_jump(ex_schedule());
}

static void ex_model_body(void *argument)
{
    (void)argument;
    ex.model();
}

static int ex_add_thread(void (*function)(void *), void *argument)
{
    if (ex.thread_count == EX_MAX_THREADS)
        ex_die("too many threads in a model");
    int id = ex.thread_count++;
    ex_thread *thread = &ex.threads[id];
    memset(thread, 0, sizeof *thread);
    thread->function = function;
    thread->argument = argument;
    thread->pending.kind = EX_OP_START;
    thread->stepped = ~0u;
    thread->timeouts_left = ex.config.timeouts;
    thread->spurious_wakes_left = ex.config.spurious_wakes;
    thread->spurious_cas_left = ex.config.spurious_cas;
    thread->priority = (int)(ex_random() % 1000);
    ex.live_count++;
    return id;
}

EX_API int ex_spawn(void (*function)(void *), void *argument)
{
    if (!ex.running)
        ex_die("ex_spawn outside of a model");
    int id = ex_add_thread(function, argument);
    ex_thread *thread = &ex.threads[id];
    thread->now = ex_me()->now;
    thread->now.happens.of[id] = thread->now.visible.of[id] = 1;
    thread->order = ex_me()->order;
    ex_tick();
    ex_trace("spawn T%d", id);
    return id;
}

EX_API void ex_join(int thread)
{
    if (thread < 0 || thread >= ex.thread_count)
        ex_die("ex_join of an unknown thread");
    ex_point((ex_op){ .kind = EX_OP_JOIN, .target = thread, .site = "join" });
    ex_view_join(&ex_me()->now, &ex.threads[thread].now);
    ex_clock_join(&ex_me()->order, &ex.threads[thread].order);
    ex_trace("join T%d", thread);
}

EX_API int ex_self(void)
{
    return ex.running ? ex.current : -1;
}

/* ------------------------------------------------------------------------------------------------
 * Locations, heap blocks, data races
 * ---------------------------------------------------------------------------------------------- */

static ex_location *ex_new_location(const void *address)
{
    if (ex.location_count == EX_MAX_LOCATIONS)
        ex_die("the model uses too many locations");
    ex_location *location = &ex.locations[ex.location_count++];
    memset(location, 0, sizeof *location);
    location->address = address;
    location->owner = -1;
    return location;
}

static ex_location *ex_locate(const void *address)
{
    uint64_t hash = (uint64_t)(uintptr_t)address * 0x9E3779B97F4A7C15ull >> 32;
    for (;; hash++) {
        ex_slot *slot = &ex.slots[hash % EX_SLOTS];
        if (slot->execution != ex.execution) {
            slot->execution = ex.execution;
            slot->index = ex.location_count;
            return ex_new_location(address);
        }
        if (ex.locations[slot->index].address == address)
            return &ex.locations[slot->index];
    }
}

static ex_heap *ex_heap_of(const void *pointer)
{
    for (int i = 0; i < EX_MAX_THREADS; i++) {
        const char *memory = ex.heaps[i].memory;
        if (memory && (const char *)pointer >= memory && (const char *)pointer < memory + EX_HEAP_SIZE)
            return &ex.heaps[i];
    }
    return NULL;
}

static ex_block *ex_block_of(ex_heap *heap, const void *pointer)
{
    int number = heap->block_of[(size_t)((const char *)pointer - heap->memory) / EX_GRANULE];
    return number ? &heap->blocks[number - 1] : NULL;
}

/* Check an access against the life of the heap block it belongs to, if it belongs to one. */
static void ex_touch(const void *pointer, uint32_t size, const char *site)
{
    ex_heap *heap = ex_heap_of(pointer);
    if (!heap)
        return;
    ex_block *block = ex_block_of(heap, pointer);
    size_t offset = (size_t)((const char *)pointer - heap->memory);
    if (!block || offset + size > block->offset + block->size)
        ex_fail("access outside of a heap block by T%d, %s", ex.current, site);
    if (block->freed_by >= 0)
        ex_fail("use after free by T%d (freed by T%d), %s", ex.current, block->freed_by, site);
    block->touched.of[ex.current] = ex_time();
}

/* Two accesses of different threads race if one of them writes, one of them is plain, and neither
 * happens before the other. */
static bool ex_conflict(ex_access a, ex_access b)
{
    bool write = a == EX_PLAIN_WRITE || a == EX_ATOMIC_WRITE || b == EX_PLAIN_WRITE || b == EX_ATOMIC_WRITE;
    bool plain = a <= EX_PLAIN_WRITE || b <= EX_PLAIN_WRITE;
    return write && plain;
}

static ex_location *ex_access_memory(const void *address, uint32_t size, ex_access access, const char *site)
{
    static const char *const name[] = { "plain read", "plain write", "atomic read", "atomic write" };
    ex_touch(address, size, site);
    ex_location *location = ex_locate(address);
    for (int other = 0; other < EX_ACCESSES; other++)
        if (ex_conflict(access, (ex_access)other)
            && !ex_clock_covers(&ex_me()->now.happens, &location->accessed[other]))
            ex_fail("data race: %s by T%d and %s of another thread, %s", name[access], ex.current,
                    name[other], site);
    location->accessed[access].of[ex.current] = ex_time();
    return location;
}

EX_API const void *ex_plain_read(const void *address, size_t size, const char *site)
{
    if (ex.running) {
        ex_access_memory(address, (uint32_t)size, EX_PLAIN_READ, site);
        ex_trace("read %s", site);
    }
    return address;
}

EX_API void *ex_plain_write(void *address, size_t size, const char *site)
{
    if (ex.running) {
        ex_access_memory(address, (uint32_t)size, EX_PLAIN_WRITE, site)->newest = NULL;
        ex_trace("write %s", site);
    }
    return address;
}

/* ------------------------------------------------------------------------------------------------
 * Heap
 * ---------------------------------------------------------------------------------------------- */

static void ex_heap_reset(ex_heap *heap)
{
    memset(heap->block_of, 0, sizeof heap->block_of[0] * (heap->used / EX_GRANULE));
    heap->used = 0;
    heap->count = 0;
}

static void ex_heap_create(ex_heap *heap)
{
    heap->memory = mmap(NULL, EX_HEAP_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (heap->memory == MAP_FAILED)
        ex_die("no memory for the heap");
}

static size_t ex_granules(size_t size)
{
    return size ? (size + EX_GRANULE - 1) / EX_GRANULE : 1;
}

EX_API void *ex_malloc(size_t size)
{
    if (!ex.running)
        return malloc(size);
    ex_heap *heap = &ex.heaps[ex.current];
    if (!heap->memory)
        ex_heap_create(heap);
    size_t granules = ex_granules(size), left = EX_HEAP_SIZE - heap->used;
    if (size > left || granules * EX_GRANULE > left || heap->count == EX_MAX_BLOCKS)
        ex_die("the model uses too much memory");
    ex_block *block = &heap->blocks[heap->count++];
    *block = (ex_block){ .offset = heap->used, .size = size, .freed_by = -1 };
    block->touched.of[ex.current] = ex_time();
    for (size_t i = 0; i < granules; i++)
        heap->block_of[heap->used / EX_GRANULE + i] = (uint16_t)heap->count;
    void *memory = heap->memory + heap->used;
    heap->used += granules * EX_GRANULE;
    memset(memory, 0xA5, granules * EX_GRANULE);
    ex_trace("malloc %zu -> %p", size, memory);
    return memory;
}

EX_API void *ex_calloc(size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size)
        return NULL;
    void *memory = ex_malloc(count * size);
    return memory ? memset(memory, 0, count * size) : NULL;
}

static ex_block *ex_block_to_free(void *pointer)
{
    ex_heap *heap = ex_heap_of(pointer);
    ex_block *block = heap ? ex_block_of(heap, pointer) : NULL;
    if (!block || heap->memory + block->offset != (char *)pointer)
        ex_fail("free of a pointer that ex_malloc did not return, by T%d", ex.current);
    if (block->freed_by >= 0)
        ex_fail("double free by T%d (freed by T%d)", ex.current, block->freed_by);
    return block;
}

EX_API void ex_free(void *pointer)
{
    if (!ex.running) {
        free(pointer);
        return;
    }
    if (!pointer)
        return;
    size_t size = ex_block_to_free(pointer)->size;
    ex_point((ex_op){ .kind = EX_OP_FREE, .address = pointer, .site = "free",
                      .size = (uint32_t)(ex_granules(size) * EX_GRANULE) });
    ex_block *block = ex_block_to_free(pointer);        /* again: others ran meanwhile */
    if (!ex_clock_covers(&ex_me()->now.happens, &block->touched))
        ex_fail("free by T%d races with an access of another thread", ex.current);
    block->freed_by = ex.current;
    memset(pointer, 0xDD, size);
    ex_trace("free %p", pointer);
    ex_tick();
}

EX_API void *ex_realloc(void *pointer, size_t size)
{
    if (!ex.running)
        return realloc(pointer, size);
    if (!pointer)
        return ex_malloc(size);
    size_t old = ex_block_to_free(pointer)->size;
    void *memory = ex_malloc(size);
    memcpy(memory, pointer, old < size ? old : size);
    ex_free(pointer);
    return memory;
}

static void ex_check_leaks(void)
{
    for (int t = 0; t < EX_MAX_THREADS; t++)
        for (int i = 0; i < ex.heaps[t].count; i++)
            if (ex.heaps[t].blocks[i].freed_by < 0) {
                snprintf(ex.message, sizeof ex.message, "leak: block %d of T%d (%zu bytes) was never freed",
                         i, t, ex.heaps[t].blocks[i].size);
                ex.failed = true;
                return;
            }
}

/* ------------------------------------------------------------------------------------------------
 * Atomic operations
 *
 * The order in which stores are executed is normally also their modification order. Only in weak
 * mode may a store go before others that are already in the list, if no happens-before or coherence
 * rule of C11 forbids it: the thread would not have been obliged to see them.
 * ---------------------------------------------------------------------------------------------- */

static uint64_t ex_raw_load(const void *address, uint32_t size)
{
    switch (size) {
    case 1:  return __atomic_load_n((const uint8_t *)address, __ATOMIC_SEQ_CST);
    case 2:  return __atomic_load_n((const uint16_t *)address, __ATOMIC_SEQ_CST);
    case 4:  return __atomic_load_n((const uint32_t *)address, __ATOMIC_SEQ_CST);
    default: return __atomic_load_n((const uint64_t *)address, __ATOMIC_SEQ_CST);
    }
}

static void ex_raw_store(void *address, uint32_t size, uint64_t value)
{
    switch (size) {
    case 1:  __atomic_store_n((uint8_t *)address, (uint8_t)value, __ATOMIC_SEQ_CST); break;
    case 2:  __atomic_store_n((uint16_t *)address, (uint16_t)value, __ATOMIC_SEQ_CST); break;
    case 4:  __atomic_store_n((uint32_t *)address, (uint32_t)value, __ATOMIC_SEQ_CST); break;
    default: __atomic_store_n((uint64_t *)address, value, __ATOMIC_SEQ_CST); break;
    }
}

/* Outside of a model the macros work as usual. */
static bool ex_raw_cas(void *address, void *expected, uint32_t size, uint64_t desired)
{
#define EX_RAW_CAS(type)                                                                            \
    __atomic_compare_exchange_n((type *)address, (type *)expected, (type)desired, false,            \
                                __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
    switch (size) {
    case 1:  return EX_RAW_CAS(uint8_t);
    case 2:  return EX_RAW_CAS(uint16_t);
    case 4:  return EX_RAW_CAS(uint32_t);
    default: return EX_RAW_CAS(uint64_t);
    }
#undef EX_RAW_CAS
}

static uint64_t ex_cut(uint64_t value, uint32_t size)
{
    return size == 8 ? value : value & ((1ull << 8 * size) - 1);
}

static ex_store *ex_new_store(uint64_t value)
{
    if (ex.store_count == EX_MAX_STORES)
        ex_end(EX_CAPPED);
    ex_store *store = &ex.stores[ex.store_count++];
    memset(store, 0, sizeof *store);
    store->value = value;
    return store;
}

/* Begin an atomic access. The history of the location starts with what plain code has put there. It
 * also starts anew if the memory does not hold the newest value: then plain code has initialised it
 * again, for example because it is on a stack and now belongs to another variable. */
static ex_location *ex_begin(const void *address, uint32_t size, ex_access access, const char *site)
{
    ex_location *location = ex_access_memory(address, size, access, site);
    uint64_t value = ex_raw_load(address, size);
    if (!location->newest || location->newest->value != value)
        location->newest = ex_new_store(value);
    return location;
}

/* Is the thread obliged to see this value or a newer one? Because it, or something that happens before
 * now, has stored or read the value; or because the seq_cst order says so. */
static bool ex_must_see(const ex_store *store, const ex_clock *visible, int order)
{
    if (store->time && store->time <= visible->of[store->thread])
        return true;
    if (store->seq_cst_number
        && (order == __ATOMIC_SEQ_CST || store->seq_cst_number <= ex_me()->fence_number))
        return true;
    for (int i = 0; i < EX_MAX_THREADS; i++)
        if (store->first_read.of[i] && store->first_read.of[i] <= visible->of[i])
            return true;
    return false;
}

/* Stores become visible to others in finite time. Without this rule a thread could spin forever on an
 * old value: it must not read one again that was old when it read it before its last crt__cpu_relax. */
static bool ex_is_worn_out(const ex_store *store)
{
    uint16_t stale = store->stale_read.of[ex.current];
    return stale && stale < ex_me()->relax_time;
}

/* The values that the current thread may read, newest first. */
static int ex_candidates(const ex_location *location, int order, ex_store **list)
{
    int count = 0;
    ex_store *store = location->newest;
    list[count++] = store;
    if (!ex.config.weak_memory)
        return count;
    ex_clock visible = ex_me()->now.visible;
    if (order == __ATOMIC_SEQ_CST)
        ex_clock_join(&visible, &ex.seq_cst_visible);
    while (store->older && count < EX_MAX_CHOICES && !ex_must_see(store, &visible, order)) {
        store = store->older;
        if (ex_is_worn_out(store))
            break;
        list[count++] = store;
    }
    return count;
}

/* Those of them that a new store may follow in modification order: a read-modify-write and the value
 * it has read stay together. */
static int ex_predecessors(const ex_location *location, int order, ex_store **list)
{
    int count = ex_candidates(location, order, list), kept = 1;
    bool follower_is_rmw = list[0]->is_rmw;
    for (int i = 1; i < count; i++) {
        ex_store *store = list[i];
        if (!follower_is_rmw)
            list[kept++] = store;
        follower_is_rmw = store->is_rmw;
    }
    return kept;
}

static void ex_note_seq_cst(ex_store *store, int order)
{
    if (order != __ATOMIC_SEQ_CST || !ex.config.weak_memory)
        return;
    ex.seq_cst_count++;
    if (!store->seq_cst_number)
        store->seq_cst_number = ex.seq_cst_count;
}

static void ex_read_from(const ex_location *location, ex_store *store, int order)
{
    ex_thread *me = ex_me();
    if (!store->first_read.of[ex.current])
        store->first_read.of[ex.current] = ex_time();
    if (store != location->newest && !store->stale_read.of[ex.current])
        store->stale_read.of[ex.current] = ex_time();
    ex_note_seq_cst(store, order);
    ex_view_join(ex_is_acquire(order) ? &me->now : &me->acquired, &store->view);
}

/* Put a store behind `older` in modification order. Memory always holds the newest value. */
static ex_store *ex_insert(ex_location *location, ex_store *older, uint64_t value, uint32_t size, int order)
{
    ex_store *store = ex_new_store(value), **link = &location->newest;
    while (*link != older)
        link = &(*link)->older;
    *link = store;
    store->older = older;
    store->thread = (uint8_t)ex.current;
    store->time = ex_time();
    store->view = ex_is_release(order) ? ex_me()->now : ex_me()->released;
    ex_note_seq_cst(store, order);
    if (location->newest == store)
        ex_raw_store((void *)(uintptr_t)location->address, size, value);
    return store;
}

/* A read-modify-write passes on what the value it replaces has published (release sequence). */
static void ex_replace(ex_location *location, ex_store *older, uint64_t value, uint32_t size, int order)
{
    ex_read_from(location, older, order);
    ex_store *store = ex_insert(location, older, value, size, order);
    ex_view_join(&store->view, &older->view);
    store->is_rmw = true;
}

static void ex_atomic_point(ex_kind kind, const void *address, uint32_t size, int order, const char *site)
{
    ex_point((ex_op){ .kind = kind, .address = address, .size = size, .site = site,
                      .seq_cst = order == __ATOMIC_SEQ_CST && ex.config.weak_memory });
}

EX_API uint64_t ex_load(const void *address, uint32_t size, int order, const char *site)
{
    if (!ex.running)
        return ex_raw_load(address, size);
    ex_store *list[EX_MAX_CHOICES];
    ex_atomic_point(EX_OP_LOAD, address, size, order, site);
    ex_location *location = ex_begin(address, size, EX_ATOMIC_READ, site);
    ex_store *store = list[ex_value(ex_candidates(location, order, list))];
    ex_trace("load  %s -> %llu  %s%s", site, (unsigned long long)store->value, ex_order_name(order),
             store == location->newest ? "" : ", old value");
    ex_read_from(location, store, order);
    ex_tick();
    return store->value;
}

EX_API void ex_store_value(void *address, uint32_t size, uint64_t value, int order, const char *site)
{
    value = ex_cut(value, size);
    if (!ex.running) {
        ex_raw_store(address, size, value);
        return;
    }
    ex_store *list[EX_MAX_CHOICES];
    ex_atomic_point(EX_OP_STORE, address, size, order, site);
    ex_location *location = ex_begin(address, size, EX_ATOMIC_WRITE, site);
    ex_store *older = list[ex_value(ex_predecessors(location, order, list))];
    ex_trace("store %s = %llu  %s%s", site, (unsigned long long)value, ex_order_name(order),
             older == location->newest ? "" : ", before newer ones");
    ex_insert(location, older, value, size, order);
    ex_tick();
}

typedef enum ex_rmw_kind { EX_XCHG, EX_ADD, EX_SUB, EX_OR, EX_AND } ex_rmw_kind;

static uint64_t ex_combine(ex_rmw_kind kind, uint64_t old, uint64_t value)
{
    switch (kind) {
    case EX_ADD: return old + value;
    case EX_SUB: return old - value;
    case EX_OR:  return old | value;
    case EX_AND: return old & value;
    default:     return value;
    }
}

static uint64_t ex_raw_rmw(void *address, uint32_t size, ex_rmw_kind kind, uint64_t value)
{
    uint64_t old;
    do
        old = ex_raw_load(address, size);
    while (!ex_raw_cas(address, &old, size, ex_combine(kind, old, value)));
    return old;
}

EX_API uint64_t ex_rmw(void *address, uint32_t size, ex_rmw_kind kind, uint64_t value, int order,
                       const char *site)
{
    static const char *const name[] = { "xchg ", "add  ", "sub  ", "or   ", "and  " };
    if (!ex.running)
        return ex_raw_rmw(address, size, kind, value);
    ex_store *list[EX_MAX_CHOICES];
    ex_atomic_point(EX_OP_RMW, address, size, order, site);
    ex_location *location = ex_begin(address, size, EX_ATOMIC_WRITE, site);
    ex_store *older = list[ex_value(ex_predecessors(location, order, list))];
    uint64_t next = ex_cut(ex_combine(kind, older->value, value), size);
    ex_trace("%s %s: %llu -> %llu  %s%s", name[kind], site, (unsigned long long)older->value,
             (unsigned long long)next, ex_order_name(order),
             older == location->newest ? "" : ", before newer ones");
    ex_replace(location, older, next, size, order);
    ex_tick();
    return older->value;
}

/* How a compare-and-swap may end: it replaces a value that is as expected, or it fails because of one
 * that is not, which may be old. */
typedef struct ex_cas_outcome {
    ex_store *store;
    bool      success;
} ex_cas_outcome;

static int ex_cas_outcomes(const ex_location *location, uint64_t expected, int order, int order_failed,
                           ex_cas_outcome *list)
{
    ex_store *replaceable[EX_MAX_CHOICES], *readable[EX_MAX_CHOICES];
    int count = 0;
    int replaceables = ex_predecessors(location, order, replaceable);
    int readables = ex_candidates(location, order_failed, readable);
    for (int i = 0; i < EX_MAX_CHOICES && count < EX_MAX_CHOICES; i++) {
        if (i < replaceables && replaceable[i]->value == expected)
            list[count++] = (ex_cas_outcome){ replaceable[i], true };
        if (i < readables && readable[i]->value != expected && count < EX_MAX_CHOICES)
            list[count++] = (ex_cas_outcome){ readable[i], false };
    }
    return count;
}

static bool ex_fails_spuriously(void)
{
    if (ex_me()->spurious_cas_left == 0 || ex_value(2) == 0)
        return false;
    ex_me()->spurious_cas_left--;
    return true;
}

EX_API bool ex_cas(void *address, void *expected, uint32_t size, uint64_t desired, int order,
                   int order_failed, bool weak, const char *site)
{
    desired = ex_cut(desired, size);
    if (!ex.running)
        return ex_raw_cas(address, expected, size, desired);
    ex_cas_outcome list[EX_MAX_CHOICES];
    bool seq_cst = order == __ATOMIC_SEQ_CST || order_failed == __ATOMIC_SEQ_CST;
    ex_atomic_point(EX_OP_RMW, address, size, seq_cst ? __ATOMIC_SEQ_CST : order, site);
    ex_location *location = ex_begin(address, size, EX_ATOMIC_WRITE, site);
    int count = ex_cas_outcomes(location, ex_raw_load(expected, size), order, order_failed, list);
    ex_cas_outcome outcome = list[ex_value(count)];
    uint64_t old = outcome.store->value;
    if (outcome.success && weak && ex_fails_spuriously())
        outcome.success = false;
    ex_trace("cas   %s: %llu -> %llu  %s%s", site, (unsigned long long)old, (unsigned long long)desired,
             outcome.success ? ex_order_name(order) : "failed",
             outcome.store == location->newest ? "" : ", not the newest value");
    if (outcome.success)
        ex_replace(location, outcome.store, desired, size, order);
    else
        ex_read_from(location, outcome.store, order_failed);
    ex_raw_store(expected, size, old);
    ex_tick();
    return outcome.success;
}

/* Acquire and release fences change only what the thread itself knows, so that they need no decision.
 * A seq_cst fence also exchanges with all other seq_cst fences. */
EX_API void ex_fence(int order, const char *site)
{
    if (!ex.running)
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!ex.running || order == __ATOMIC_RELAXED)
        return;
    bool seq_cst = order == __ATOMIC_SEQ_CST && ex.config.weak_memory;
    if (seq_cst)
        ex_point((ex_op){ .kind = EX_OP_FENCE, .site = site, .seq_cst = true });
    ex_thread *me = ex_me();
    if (ex_is_acquire(order))
        ex_view_join(&me->now, &me->acquired);
    if (seq_cst) {
        ex_clock_join(&me->now.visible, &ex.seq_cst_visible);
        ex_clock_join(&ex.seq_cst_visible, &me->now.visible);
        me->fence_number = ++ex.seq_cst_count;
    }
    if (ex_is_release(order))
        me->released = me->now;
    ex_trace("fence %s %s", site, ex_order_name(order));
    ex_tick();
}

/* ------------------------------------------------------------------------------------------------
 * Waiting
 * ---------------------------------------------------------------------------------------------- */

/* Whether a thread that spins can go on depends on who made the last steps. So the step that it made
 * before it began to wait depends on everything, after all. */
static void ex_make_last_step_global(void)
{
    if (ex.step_count == 0)
        return;
    int last = ex.step_count - 1;
    ex_step *step = &ex.steps[last];
    step->op.global = true;
    ex.asleep = 0;
    if (step->node >= 0)
        ex.nodes[step->node].yielding |= (uint8_t)(1u << step->thread);
    if (ex.config.strategy != EX_DPOR || last < ex.known_steps)
        return;
    ex.step_count = last;                       /* as before that step */
    ex.threads[step->thread].order.of[step->thread]--;
    step->order = ex.threads[step->thread].order = ex_find_races(step->thread, &step->op);
    ex.step_count = last + 1;
}

/* The thread spins: it has nothing to do until another thread makes a step. */
EX_API void ex_yield_at(const char *site)
{
    if (!ex.running)
        return;
    if (ex_is_tree() && ex_is_reduced())
        ex_make_last_step_global();
    ex_wait_for_others();
    ex_me()->relax_time = ex_time();
    if (ex.config.strategy == EX_PCT)
        ex_me()->priority = --ex.pct_lowest;
    ex_trace("yield %s", site);
}

EX_API void ex_lock_at(void *mutex, const char *site)
{
    ex_point((ex_op){ .kind = EX_OP_LOCK, .address = mutex, .size = 1, .site = site });
    ex_touch(mutex, 1, site);
    ex_location *location = ex_locate(mutex);
    location->owner = ex.current;
    ex_view_join(&ex_me()->now, &location->guarded);
    ex_trace("lock  %s", site);
}

EX_API void ex_unlock_at(void *mutex, const char *site)
{
    ex_point((ex_op){ .kind = EX_OP_UNLOCK, .address = mutex, .size = 1, .site = site });
    ex_touch(mutex, 1, site);
    ex_location *location = ex_locate(mutex);
    if (location->owner != ex.current)
        ex_fail("unlock by T%d, which is not the owner, %s", ex.current, site);
    location->owner = -1;
    ex_view_join(&location->guarded, &ex_me()->now);
    ex_trace("unlock %s", site);
    ex_tick();
}

EX_API void ex_park_at(const char *site)
{
    ex_thread *me = ex_me();
    ex_point((ex_op){ .kind = EX_OP_PARK, .address = me, .size = 1, .site = site });
    me->token = false;
    ex_view_join(&me->now, &me->token_view);
    ex_trace("park  %s", site);
}

EX_API void ex_unpark_at(int id, const char *site)
{
    if (id < 0 || id >= ex.thread_count)
        ex_die("ex_unpark of an unknown thread");
    ex_thread *thread = &ex.threads[id];
    ex_point((ex_op){ .kind = EX_OP_UNPARK, .address = thread, .size = 1, .site = site });
    thread->token = true;
    ex_view_join(&thread->token_view, &ex_me()->now);
    ex_trace("unpark T%d %s", id, site);
    ex_tick();
}

/* Why a thread goes on that nobody has woken: 1 time is up, 0 no reason. */
static int ex_end_sleep_early(ex_thread *me)
{
    bool may_be_spurious = me->spurious_wakes_left > 0;
    bool may_time_out = me->timed && (me->timeouts_left > 0 || !may_be_spurious);
    if (may_be_spurious && (!may_time_out || ex_value(2) == 0)) {
        me->spurious_wakes_left--;
        return 0;
    }
    me->timeouts_left--;
    return 1;
}

static int ex_futex_sleep(const uint32_t *address, bool timed)
{
    ex_thread *me = ex_me();
    me->futex = address;
    me->woken = false;
    me->timed = timed;
    /* A timeout that happens only when nobody else can run depends on everything the others do. */
    ex_point((ex_op){ .kind = EX_OP_FUTEX_SLEEP, .address = address, .size = sizeof *address,
                      .site = "futex", .global = timed && me->timeouts_left <= 0,
                      .needs_wake = !timed && !ex_can_end_early(me) });
    me->futex = NULL;
    int result = me->woken ? 0 : ex_end_sleep_early(me);
    ex_trace("futex sleep %p ends: %s", (const void *)address,
             me->woken ? "woken" : result ? "timeout" : "spurious");
    return result;
}

/* Compares with the newest value, as the kernel does, but teaches nothing else: code that relies on a
 * futex call to order its memory accesses is found out. */
EX_API int ex_futex_wait(uint32_t *address, uint32_t expected, int64_t timeout_ns)
{
    if (!ex.running) {
        if (*address == expected && timeout_ns < 0)
            ex_die("futex wait outside of a model would never end");
        return *address == expected;
    }
    ex_atomic_point(EX_OP_FUTEX_WAIT, address, sizeof *address, __ATOMIC_RELAXED, "futex");
    ex_location *location = ex_begin(address, sizeof *address, EX_ATOMIC_READ, "futex");
    ex_read_from(location, location->newest, __ATOMIC_RELAXED);
    ex_trace("futex wait %p: %u, expected %u", (void *)address, (unsigned)location->newest->value,
             (unsigned)expected);
    ex_tick();
    if (location->newest->value != expected)
        return 0;
    return timeout_ns == 0 ? 1 : ex_futex_sleep(address, timeout_ns > 0);
}

static int ex_futex_sleepers(const uint32_t *address, int *list)
{
    int count = 0;
    for (int i = 0; i < ex.thread_count; i++)
        if (ex.threads[i].futex == address && !ex.threads[i].woken)
            list[count++] = i;
    return count;
}

/* Does not count as an access: waking a futex whose memory was just freed is harmless, and locks whose
 * last user frees them do it. Which sleepers wake up is open. */
EX_API void ex_futex_wake(uint32_t *address, int how_many)
{
    int list[EX_MAX_THREADS], count;
    if (!ex.running)
        return;
    ex_point((ex_op){ .kind = EX_OP_FUTEX_WAKE, .address = address, .size = sizeof *address,
                      .site = "futex" });
    ex_trace("futex wake %p, at most %d", (void *)address, how_many);
    while (how_many > 0 && (count = ex_futex_sleepers(address, list)) > 0) {
        int chosen = list[how_many >= count ? 0 : ex_value(count)];
        ex.threads[chosen].woken = true;
        ex_trace("futex wakes T%d", chosen);
        how_many--;
    }
}

/* ------------------------------------------------------------------------------------------------
 * Exploring
 * ---------------------------------------------------------------------------------------------- */

EX_API ex_config ex_default_config(void)
{
    return (ex_config){ .strategy = EX_DPOR, .preemption_bound = -1, .seed = 1, .pct_depth = 3,
                        .max_steps = 2000, .timeouts = 1, .verbose = 1 };
}

/* Decisions as text: a capital letter is a thread, a small one a value, a number repeats the letter
 * before it. "A3Bb" = thread 0 three times, thread 1, which takes value 1. */
static const char *ex_encode_trail(void)
{
    size_t length = 0;
    for (int i = 0, run; i < ex.trail_length; i += run) {
        for (run = 1; i + run < ex.trail_length && ex.trail[i + run] == ex.trail[i]; run++) {
        }
        ex.replay_text[length++] = ex.trail[i];
        if (run > 1)
            length += (size_t)sprintf(ex.replay_text + length, "%d", run);
    }
    ex.replay_text[length] = 0;
    return ex.replay_text;
}

static void ex_decode_replay(const char *text)
{
    ex.replay_length = 0;
    while (*text) {
        char letter = *text++;
        long run = 1;
        if (*text >= '0' && *text <= '9') {
            char *end;
            run = strtol(text, &end, 10);
            text = end;
        }
        if (run < 1 || run > EX_MAX_TRAIL - ex.replay_length)
            ex_die("replay string too long");
        memset(ex.replay + ex.replay_length, letter, (size_t)run);
        ex.replay_length += (int)run;
    }
}

/* Choose the last decision that has an untried alternative. False: everything was explored. */
static bool ex_backtrack(void)
{
    for (; ex.node_count > 0; ex.node_count--) {
        ex_node *node = &ex.nodes[ex.node_count - 1];
        ex.known_steps = node->step;
        if (node->is_value) {
            ex.known_steps--;           /* another value may turn its step into a global one */
            if (++node->value < node->count)
                return true;
            continue;
        }
        node->done |= (uint8_t)(1u << node->chosen);
        unsigned rest = node->backtrack & (unsigned)~node->done & 0xff;
        if (ex_is_reduced())
            rest &= (unsigned)~node->asleep;
        if (rest) {
            node->chosen = (uint8_t)ex_lowest(rest);
            return true;
        }
    }
    return false;
}

static void ex_begin_execution(void)
{
    if (++ex.execution == 0) {          /* the mark of empty slots has come round */
        memset(ex.slots, 0, sizeof ex.slots);
        ex.execution = 1;
    }
    ex.failed = false;
    ex.thread_count = ex.live_count = ex.current = 0;
    ex.step_count = ex.trail_length = ex.replay_at = ex.depth = 0;
    ex.previous = -1;
    ex.preemptions = 0;
    ex.asleep = 0;
    ex.location_count = 0;
    ex.store_count = 0;
    ex.seq_cst_count = 0;
    memset(&ex.seq_cst_visible, 0, sizeof ex.seq_cst_visible);
    for (int i = 0; i < EX_MAX_THREADS; i++)
        ex_heap_reset(&ex.heaps[i]);
    ex.pct_lowest = 0;
    for (int i = 0; i < (int)(sizeof ex.pct_change / sizeof ex.pct_change[0]); i++)
        ex.pct_change[i] = (int)(ex_random() % (unsigned)(ex.longest + 1));
}

__attribute__((noinline))
static void ex_run_fibers(void)
{
    if (_setjmp(ex.home) == 0)
        ex_jump(0);
}

static void ex_execute(void)
{
    ex_begin_execution();
    ex_add_thread(ex_model_body, NULL);
    ex.threads[0].now.happens.of[0] = ex.threads[0].now.visible.of[0] = 1;
    ex.running = true;
    ex_run_fibers();
    ex.running = false;
    for (int i = 0; i < ex.local_count; i++)
        memset(ex.locals[i].variable, 0, ex.locals[i].size);
    if (ex.ending == EX_FINISHED && !ex.config.allow_leaks)
        ex_check_leaks();
    if (ex.ending == EX_CAPPED && !ex.config.allow_capped) {
        ex.failed = true;
        snprintf(ex.message, sizeof ex.message,
                 "no end after %d steps: livelock, or a loop that waits without crt__cpu_relax",
                 ex.step_count);
    }
    if (ex_is_tree() && ex.config.strategy == EX_DPOR)
        ex_find_last_races();
    if (ex.step_count > ex.longest)
        ex.longest = ex.step_count;
}

static void ex_count(ex_result *result)
{
    result->executions++;
    result->steps += (uint64_t)ex.step_count;
    result->pruned += ex.ending == EX_PRUNED;
    result->capped += ex.ending == EX_CAPPED;
    result->max_depth = ex.longest;
    if (!ex.failed)
        return;
    result->failed = true;
    result->failed_at = result->executions;
    memcpy(result->message, ex.message, sizeof result->message);
    result->replay = ex_encode_trail();
}

static bool ex_budget_left(const ex_result *result, double begin)
{
    if (ex.config.max_executions && result->executions >= ex.config.max_executions)
        return false;
    if (ex.config.max_seconds <= 0 || result->executions % 64 != 0)
        return true;
    return ex_seconds() - begin < ex.config.max_seconds;
}

static void ex_prepare(const char *name, ex_config config, void (*model)(void))
{
    if (ex.running)
        ex_die("ex_run inside of a model");
    ex.config = config;
    if (config.replay) {
        ex_decode_replay(config.replay);
        ex.config.preemption_bound = -1;
    }
    if (ex_is_reduced() || config.strategy == EX_PCT)
        ex.config.preemption_bound = -1;
    if (config.max_steps <= 0 || config.max_steps > EX_MAX_STEPS)
        ex.config.max_steps = EX_MAX_STEPS;
    if (config.strategy >= EX_RANDOM && !config.max_executions && config.max_seconds <= 0)
        ex.config.max_executions = 10000;       /* these never finish by themselves */
    if (config.pct_depth < 1 || config.pct_depth > 8)
        ex.config.pct_depth = 3;
    ex.tracing = config.replay && config.verbose >= 2;
    ex.random = (config.seed + 1) * 0x9E3779B97F4A7C15ull;
    ex.random = ex.random ? ex.random : 1;
    ex.model_name = name;
    ex.model = model;
    ex.node_count = ex.known_steps = 0;
    ex.longest = 0;
}

EX_API void ex_print_failure(const ex_result *result)
{
    printf("  failure: %s\n", result->message);
    printf("  replay:  %s model=%s wm=%d verbose=2 replay=%s\n", ex.program ? ex.program : "", ex.model_name,
           ex.config.weak_memory, result->replay);
}

EX_API ex_result ex_run(const char *name, ex_config config, void (*model)(void))
{
    ex_result result = { .replay = "" };
    double begin = ex_seconds();
    ex_prepare(name, config, model);
    do {
        ex_execute();
        ex_count(&result);
        if (ex.failed || ex.config.replay)
            break;
        if (ex_is_tree() && !ex_backtrack()) {
            result.exhausted = true;
            break;
        }
    } while (ex_budget_left(&result, begin));
    result.seconds = ex_seconds() - begin;
    if (result.failed && config.verbose >= 1)
        ex_print_failure(&result);
    return result;
}

/* ------------------------------------------------------------------------------------------------
 * A main function for a table of models
 * ---------------------------------------------------------------------------------------------- */

typedef struct ex_options {
    const char *model;          /* NULL: all */
    int         strategy;       /* -1: the default set */
    int         weak_memory;    /* -1: as in the default set */
    int         preemption_bound;
    bool        list;
    ex_config   config;         /* for the rest */
    bool        has_seconds, has_executions;
} ex_options;

typedef struct ex_preset {
    ex_strategy strategy;
    bool        weak_memory;
    int         preemption_bound;
    uint64_t    max_executions;
} ex_preset;

/* Cheap and likely to find something first, complete last. */
static const ex_preset ex_presets[] = {
    { EX_RANDOM, true,  -1, 20000 },
    { EX_PCT,    true,  -1, 20000 },
    { EX_DFS,    false,  2, 0 },
    { EX_DPOR,   false, -1, 0 },
    { EX_DPOR,   true,  -1, 0 },
};

static void ex_print_result(const char *verdict, const char *name, const ex_preset *preset,
                            const ex_result *result)
{
    char strategy[32];
    snprintf(strategy, sizeof strategy, preset->preemption_bound >= 0 ? "%s pb=%d" : "%s",
             ex_strategy_name[preset->strategy], preset->preemption_bound);
    printf("%-5s %-28s %-9s wm=%d  %-9s %8llu executions %10llu steps %7llu pruned %llu capped %6.2f s\n",
           verdict, name, strategy, preset->weak_memory,
           result->failed ? "found" : result->exhausted ? "exhausted" : "budget",
           (unsigned long long)result->executions, (unsigned long long)result->steps,
           (unsigned long long)result->pruned, (unsigned long long)result->capped, result->seconds);
    fflush(stdout);
}

static const char *ex_option_value(const char *argument, const char *name)
{
    size_t length = strlen(name);
    return strncmp(argument, name, length) == 0 && argument[length] == '=' ? argument + length + 1 : NULL;
}

static bool ex_parse_strategy(const char *text, ex_options *options)
{
    for (int i = 0; i <= EX_PCT; i++)
        if (strcmp(text, ex_strategy_name[i]) == 0)
            options->strategy = i;
    return options->strategy >= 0;
}

static bool ex_parse_option(const char *argument, ex_options *options)
{
    ex_config *config = &options->config;
    const char *value;
    if (strcmp(argument, "list") == 0)
        return options->list = true;
    if ((value = ex_option_value(argument, "model")))
        return (options->model = value) != NULL;
    if ((value = ex_option_value(argument, "strategy")))
        return ex_parse_strategy(value, options);
    if ((value = ex_option_value(argument, "replay")))
        return (config->replay = value) != NULL;
    if ((value = ex_option_value(argument, "pb")))
        options->preemption_bound = atoi(value);
    else if ((value = ex_option_value(argument, "wm")))
        options->weak_memory = atoi(value) != 0;
    else if ((value = ex_option_value(argument, "seed")))
        config->seed = strtoull(value, NULL, 0);
    else if ((value = ex_option_value(argument, "verbose")))
        config->verbose = atoi(value);
    else if ((value = ex_option_value(argument, "depth")))
        config->pct_depth = atoi(value);
    else if ((value = ex_option_value(argument, "seconds")))
        options->has_seconds = true, config->max_seconds = atof(value);
    else if ((value = ex_option_value(argument, "executions")))
        options->has_executions = true, config->max_executions = strtoull(value, NULL, 0);
    else
        return false;
    return true;
}

static ex_result ex_run_preset(const ex_model *model, const ex_preset *preset, const ex_options *options)
{
    ex_config config = options->config;
    config.strategy = preset->strategy;
    config.weak_memory = preset->weak_memory;
    config.preemption_bound = preset->preemption_bound;
    if (!options->has_executions)
        config.max_executions = preset->max_executions;
    config.timeouts = model->timeouts ? model->timeouts : config.timeouts;
    config.spurious_wakes = model->spurious_wakes;
    config.spurious_cas = model->spurious_cas;
    config.max_steps = model->max_steps ? model->max_steps : config.max_steps;
    return ex_run(model->name, config, model->run);
}

/* The presets to run: the default ones, as far as they match the options, or the one that was asked
 * for. */
static int ex_select_presets(const ex_options *options, ex_preset *list)
{
    int count = 0;
    if (options->strategy >= 0 || options->preemption_bound >= 0 || options->config.replay) {
        int strategy = options->strategy >= 0 ? options->strategy : EX_DFS;
        int bound = options->preemption_bound;
        list[count++] = (ex_preset){ (ex_strategy)strategy, options->weak_memory != 0, bound, 0 };
        return count;
    }
    for (size_t i = 0; i < sizeof ex_presets / sizeof ex_presets[0]; i++)
        if (options->weak_memory < 0 || options->weak_memory == ex_presets[i].weak_memory)
            list[count++] = ex_presets[i];
    return count;
}

/* All presets must be clean; of a seeded bug, one of them must find it. */
static bool ex_check_model(const ex_model *model, const ex_options *options)
{
    ex_preset presets[sizeof ex_presets / sizeof ex_presets[0]];
    int count = ex_select_presets(options, presets);
    for (int i = 0; i < count; i++) {
        ex_result result = ex_run_preset(model, &presets[i], options);
        bool bad = result.failed != model->expect_failure;
        const char *verdict = !bad ? "ok" : model->expect_failure ? "-" : "FAIL";
        ex_print_result(verdict, model->name, &presets[i], &result);
        if (result.failed && bad && options->config.verbose == 0)
            ex_print_failure(&result);
        if (result.failed)
            return !bad;
    }
    return !model->expect_failure;
}

EX_API int ex_main(int argc, char **argv, const ex_model *models, int count)
{
    ex_options options = { .strategy = -1, .weak_memory = -1, .preemption_bound = -1,
                           .config = ex_default_config() };
    int passed = 0, failed = 0;
    options.config.verbose = 0;
    ex.program = argc > 0 ? argv[0] : "";
    for (int i = 1; i < argc; i++)
        if (!ex_parse_option(argv[i], &options)) {
            fprintf(stderr,
                    "usage: %s [list] [model=NAME] [strategy=dfs|sleep|dpor|random|pct] [pb=N] [wm=0|1]\n"
                    "       [seconds=N] [executions=N] [seed=N] [depth=N] [replay=STRING] [verbose=N]\n",
                    ex.program);
            return 2;
        }
    if (!options.has_seconds)
        options.config.max_seconds = 5;
    for (int i = 0; i < count; i++) {
        if (options.list)
            printf("%s\n", models[i].name);
        if (options.list || (options.model && strcmp(options.model, models[i].name) != 0))
            continue;
        if (ex_check_model(&models[i], &options))
            passed++;
        else
            failed++;
    }
    if (options.list)
        return 0;
    if (passed + failed == 0)
        fprintf(stderr, "no such model: %s\n", options.model ? options.model : "");
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0 || passed == 0;
}

/* ------------------------------------------------------------------------------------------------
 * The interface to crt.h
 *
 * The results are inside of statement expressions so that no compiler complains when a caller does not
 * use them. The comma in __typeof__ removes const and volatile from the type.
 * ---------------------------------------------------------------------------------------------- */

#define CRT__RELAXED __ATOMIC_RELAXED
#define CRT__ACQUIRE __ATOMIC_ACQUIRE
#define CRT__RELEASE __ATOMIC_RELEASE
#define CRT__ACQ_REL __ATOMIC_ACQ_REL
#define CRT__SEQ_CST __ATOMIC_SEQ_CST

#define EX_VALUE(x)            ((uint64_t)(uintptr_t)(x))
#define EX_AS_TYPE_OF(p, x)    __extension__({ (__typeof__((void)0, *(p)))(x); })
#define EX_RMW(p, kind, v, order, text)                                                             \
    EX_AS_TYPE_OF(p, ex_rmw((p), sizeof *(p), (kind), EX_VALUE(v), (order), EX_SITE(text)))

#define crt__atomic_load(p, order)      EX_AS_TYPE_OF(p, ex_load((p), sizeof *(p), (order), EX_SITE(#p)))
#define crt__atomic_store(p, v, order)  ex_store_value((p), sizeof *(p), EX_VALUE(v), (order), EX_SITE(#p))
#define crt__atomic_xchg(p, v, order)   EX_RMW(p, EX_XCHG, v, order, #p)
#define crt__atomic_add(p, v, order)    EX_RMW(p, EX_ADD, v, order, #p)
#define crt__atomic_sub(p, v, order)    EX_RMW(p, EX_SUB, v, order, #p)
#define crt__atomic_or(p, v, order)     EX_RMW(p, EX_OR, v, order, #p)
#define crt__atomic_and(p, v, order)    EX_RMW(p, EX_AND, v, order, #p)
#define crt__atomic_cas(p, expected, desired, order, order_failed)                                  \
    ex_cas((p), (expected), sizeof *(p), EX_VALUE(desired), (order), (order_failed), false, EX_SITE(#p))
#define crt__atomic_cas_weak(p, expected, desired, order, order_failed)                             \
    ex_cas((p), (expected), sizeof *(p), EX_VALUE(desired), (order), (order_failed), true, EX_SITE(#p))
#define crt__atomic_fence(order)        ex_fence((order), EX_SITE("fence"))
#define crt__cpu_relax()                ex_yield_at(EX_SITE("relax"))

#define CRT__FUTEX_OVERRIDE 1

EX_API int crt__futex_wait(uint32_t *addr, uint32_t expected, int64_t timeout_ns)
{
    return ex_futex_wait(addr, expected, timeout_ns);
}

EX_API void crt__futex_wake(uint32_t *addr, int how_many)
{
    ex_futex_wake(addr, how_many);
}

#endif /* EXPLORE_H */
