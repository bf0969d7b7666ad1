// main.c - crt on a Cortex-M3 without an operating system, and without a heap
//
// A small instrument: a sampler ticks, an interrupt brings bytes, a filter puts them
// together, a supervisor waits for several things at once. Every task lies in storage of its
// own, and CRT_MALLOC is an arena that is closed once the program has begun: whoever asks it
// after that is counted, and gets nothing.
//
// The program checks itself and exits with a status, printing by semihosting: `make bare`
// runs it in qemu.

#define CRT_NO_THREADS
#define CRT_PLATFORM_HEADER "platform.h"
#define CRT_ASSERT(c) ((c) ? (void)0 : failed_assertion(#c, __LINE__))
#define CRT_MALLOC(size) arena_alloc(size)
#define CRT_FREE(p) arena_free(p)
#include <stddef.h>
static void failed_assertion(const char *what, int line);
static void *arena_alloc(size_t size);
static void arena_free(void *p);
#define CRT_IMPLEMENTATION
#include "../../crt.h"

// ---- Memory: what is needed is taken at the start, from here ---------------------------

static _Alignas(16) unsigned char arena[12 * 1024];
static size_t arena_used;
static bool arena_closed;
static unsigned asked_at_start, asked_later;

static void *arena_alloc(size_t size)
{
    size_t at = (arena_used + 15) / 16 * 16;
    if (arena_closed) return asked_later++, NULL;
    asked_at_start++;
    if (size > sizeof arena - at) return NULL;
    arena_used = at + size;
    return arena + at;
}
static void arena_free(void *p) { (void)p; }   // the program does not end

// ---- Printing -------------------------------------------------------------------------

static void print_number(uint32_t n)
{
    char text[11], *p = text + sizeof text - 1;
    *p = 0;
    do *--p = (char)('0' + n % 10);
    while (n /= 10);
    board_print(p);
}
static void say(const char *what, uint32_t n, const char *unit)
{
    board_print(what);
    board_print(": ");
    print_number(n);
    board_print(unit);
    board_print("\n");
}
static void failed_assertion(const char *what, int line)
{
    say(what, (uint32_t)line, " is the line of a failed assertion");
    board_exit(1);
}
static unsigned checks_passed, checks_failed;
static void check(const char *what, bool right)
{
    if (right) {
        checks_passed++;
        return;
    }
    checks_failed++;
    board_print("WRONG: ");
    board_print(what);
    board_print("\n");
}
static bool about(crt_duration took, crt_duration due)   // never early, and at most a tick and a bit late
{
    return took >= due && took < due + CRT_MS(1) + CRT_US(300);
}

// ---- Interrupts -------------------------------------------------------------------------

static crt_notify soft_interrupt;           // an interrupt that software asks for
static crt_mpsc_tx *bytes_in;               // from the timer's handler to the filter
static unsigned char next_byte;
static unsigned handlers_ran, bytes_refused;

static void soft_handler(void)
{
    handlers_ran++;
    crt_notify_one(&soft_interrupt);
}
static void timer0_handler(void)   // stands for a port that has received a byte
{
    TIMER0_INTCLEAR = 1;
    handlers_ran++;
    if (crt_mpsc_try_send(bytes_in, &next_byte) == 0) next_byte++;
    else bytes_refused++;
}

// ---- Tasks ------------------------------------------------------------------------------

// Ticks every 10 ms, and counts ticks that did not come when they were due.
typedef struct sampler {
    crt_frame co;
    int samples, want, late;
    crt_interval every;
    crt_instant begun;
} sampler;

static crt_poll sampler_run(void *frame, crt_cx *cx)
{
    sampler *self = frame;
    CRT_BEGIN(self, cx);
    crt_interval_init(&self->every, CRT_MS(10), CRT_BURST);
    self->begun = crt_now(cx);
    while (self->samples < self->want) {
        CRT_AWAIT(crt_interval_tick(cx, &self->every));
        if (self->samples && !about(crt_now(cx) - self->begun, CRT_MS(10) * self->samples)) self->late++;
        self->samples++;
    }
    CRT_RETURN(self->late);
    CRT_END;
}

// Adds up what the handler sends, four bytes at a time, and passes that on.
typedef struct filter {
    crt_frame co;
    crt_mpsc_rx *in;
    crt_mpsc_tx *out;
    int quads, i;
    uint32_t sum;
    unsigned char byte;
    crt_poll r;
} filter;

static crt_poll filter_run(void *frame, crt_cx *cx)
{
    filter *self = frame;
    CRT_BEGIN(self, cx);
    for (; self->quads > 0; self->quads--) {
        for (self->sum = 0, self->i = 0; self->i < 4; self->i++) {
            CRT_AWAIT(self->r = crt_mpsc_recv(cx, self->in, &self->byte));
            if (self->r < 0) CRT_RETURN(self->r);
            self->sum += self->byte;
        }
        CRT_AWAIT(self->r = crt_mpsc_send(cx, self->out, &self->sum));
        if (self->r < 0) CRT_RETURN(self->r);
    }
    CRT_END;
}

// Waits for ever; its cleanup is what the supervisor looks for after it has been aborted.
typedef struct waiter {
    crt_frame co;
    crt_mutex *lock;
    int *cleaned;
} waiter;

static crt_poll waiter_run(void *frame, crt_cx *cx)
{
    waiter *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_mutex_lock(cx, self->lock));
    crt_mutex_unlock(self->lock);
    CRT_FINALLY
        CRT_AWAIT(crt_sleep(cx, CRT_MS(3)));   // a cleanup that takes its time
        ++*self->cleaned;
    CRT_END;
}

typedef struct supervisor {
    crt_frame co;
    crt_mpsc_rx *sums;
    crt_join_handle *join;
    crt_join_handle *joins[2];
    crt_mutex lock;
    crt_semaphore permits;
    crt_timer timer;
    CRT_SELECT(3) sel;
    CRT_SELECT(2) both;
    crt_instant begun;
    crt_oneshot_tx *tx;
    crt_oneshot_rx *rx;
    crt_watch_tx *setting;
    crt_watch_rx *seen;
    uint32_t before, sum, value;
    int i, cleaned;
    intptr_t result;
    crt_poll w, r, a, b, c;
} supervisor;

static CRT_TASK_STORAGE(sampler) sampler_storage;
static CRT_TASK_STORAGE(filter) filter_storage;
static CRT_TASK_STORAGE(waiter) waiter_storage[2];
static supervisor root;
static filter filter_start;

static intptr_t never_run(void *arg) { return (void)arg, 0; }

static crt_poll supervisor_run(void *frame, crt_cx *cx)
{
    supervisor *self = frame;
    CRT_BEGIN(self, cx);
    arena_closed = true;   // from here on nothing is allocated

    // Tickless: 700 ms with nothing to do. A tick each millisecond would wake it 700 times.
    self->begun = crt_now(cx);
    self->before = sleeps;
    CRT_AWAIT(crt_sleep(cx, CRT_MS(700)));
    check("700 ms are 700 ms", about(crt_now(cx) - self->begun, CRT_MS(700)));
    say("wake-ups in 700 ms of nothing", sleeps - self->before, "");
    check("it slept through", sleeps - self->before <= 3);

    // An interrupt that comes while a task runs wakes another.
    NVIC_PEND = 1u << IRQ_SOFT;
    CRT_AWAIT(self->r = crt_notified(cx, &soft_interrupt));
    check("an interrupt wakes a task", self->r == 0 && handlers_ran == 1);

    // A sampler and a filter, each in its own storage; bytes come from a timer's interrupt.
    self->r = crt_spawn_in(cx, &sampler_storage, &self->joins[0], sampler_run, &(sampler){.want = 21});
    check("a task in static storage", self->r == 0);
    self->r = crt_spawn_in(cx, &filter_storage, &self->joins[1], filter_run, &filter_start);
    check("and another", self->r == 0);
    self->before = sleeps;
    self->begun = crt_now(cx);
    TIMER0_RELOAD = TIMER0_VALUE = CLOCK_HZ / 1000 * 7;   // a byte every 7 ms
    TIMER0_CTRL = 9;
    for (self->i = 0; self->i < 5; self->i++) {
        // Whichever comes first: a sum of four bytes, or a limit that is never reached.
        CRT_AWAIT(self->w = crt_select(cx, &self->sel,
            crt_on(cx, 0, self->a = crt_mpsc_recv(cx, self->sums, &self->sum)),
            crt_on(cx, 1, crt_sleep(cx, CRT_MS(100))),
            crt_on(cx, 2, self->c = crt_notified(cx, &soft_interrupt))));
        check("the select gives the sum", self->w == 0 && self->a == 0);
        check("of four bytes", self->sum == (uint32_t)(16 * self->i + 6));
        // When that is, only the board's timer says: qemu (7.2, with sleep=off) lets time jump twice
        // as far as WFI has asked for, and SysTick, which ends in between, does not see the second half.
    }
    TIMER0_CTRL = 0;
    CRT_AWAIT(self->r = crt_join(cx, &self->joins[1], &self->result));
    check("the filter has ended", self->r == 0 && self->result == 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->joins[0], &self->result));
    check("the sampler was never late", self->r == 0 && self->result == 0);
    check("21 samples take 200 ms", about(crt_now(cx) - self->begun, CRT_MS(200)));
    check("no byte was refused", bytes_refused == 0 && next_byte == 20);
    say("wake-ups for 21 samples and 20 bytes in 200 ms", sleeps - self->before, "");
    check("one for each, and one in 64 ms for the wheel", sleeps - self->before <= 20 + 20 + 4);

    // A time limit; a lock that somebody holds; a task that is aborted while it waits for it.
    CRT_AWAIT(self->r = crt_mutex_lock(cx, &self->lock));
    self->begun = crt_now(cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(5), crt_mutex_lock(cx, &self->lock)));
    check("a time limit", self->r == CRT_ETIMEDOUT && about(crt_now(cx) - self->begun, CRT_MS(5)));
    for (self->i = 0; self->i < 2; self->i++) {
        self->r = crt_spawn_in(cx, &waiter_storage[self->i], &self->joins[self->i], waiter_run,
                               &(waiter){.lock = &self->lock, .cleaned = &self->cleaned});
        check("a waiter", self->r == 0);
    }
    CRT_YIELD();
    crt_abort(self->joins[0]);
    crt_mutex_unlock(&self->lock);
    CRT_AWAIT(self->r = crt_join(cx, &self->joins[0], NULL));
    check("aborted, and cleaned up", self->r == CRT_ECANCELED);
    CRT_AWAIT(self->r = crt_join(cx, &self->joins[1], &self->result));
    check("the other has got the lock", self->r == 0 && self->cleaned == 2);
    check("its storage is free again", !crt_task_storage_busy(&waiter_storage[1]));

    // Two sleeps at once; a semaphore; a oneshot and a watch that were made at the start.
    self->begun = crt_now(cx);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->both,
        crt_on(cx, 0, self->a = crt_sleep(cx, CRT_MS(20))),
        crt_on(cx, 1, self->b = crt_sleep(cx, CRT_MS(30)))));
    check("both", self->r == 0 && about(crt_now(cx) - self->begun, CRT_MS(30)));
    crt_semaphore_init(&self->permits, 1);
    CRT_AWAIT(self->r = crt_semaphore_acquire(cx, &self->permits, 1));
    CRT_AWAIT(self->b = crt_timeout(cx, &self->timer, CRT_MS(2), crt_semaphore_acquire(cx, &self->permits, 1)));
    check("a semaphore", self->r == 0 && self->b == CRT_ETIMEDOUT);
    self->value = 42;
    check("a oneshot is sent", crt_oneshot_send(&self->tx, &self->value) == 0);
    self->value = 0;
    CRT_AWAIT(self->r = crt_oneshot_recv(cx, &self->rx, &self->value));
    check("and received", self->r == 0 && self->value == 42);
    self->value = 7;
    check("a watch is set", crt_watch_send(self->setting, &self->value) == 0);
    CRT_AWAIT(self->r = crt_watch_changed(cx, self->seen));
    check("and seen", self->r == 0);

    // What has no meaning here says so, and does not hang.
    check("no thread for blocking work", crt_spawn_blocking(cx, &self->join, never_run, NULL) < 0);
    CRT_AWAIT(self->r = crt_ctrl_c(cx));
    check("no signals", self->r == CRT_ENODRIVER);

    check("nothing was allocated after the start", asked_later == 0);
    CRT_END;
}

// ---- The start ----------------------------------------------------------------------------

static void board_start(void)
{
    systick_set(SYSTICK_MOST);
    NVIC_ENABLE = 1u << IRQ_TIMER0 | 1u << IRQ_SOFT;
}
extern unsigned char bss_begin[], bss_end[], data_begin[], data_end[], data_in_flash[];

static int program(void)
{
    crt_config config = {.flavor = CRT_CURRENT_THREAD, .drivers = CRT_DRIVER_TIME, .seed = 1};
    crt_runtime *rt = NULL;
    uint32_t first = 0;
    int e = crt_runtime_new(&config, &rt);
    if (!e) e = crt_mpsc_new(1, 8, &bytes_in, &filter_start.in);
    if (!e) e = crt_mpsc_new(sizeof(uint32_t), 2, &filter_start.out, &root.sums);
    if (!e) e = crt_oneshot_new(sizeof root.value, &root.tx, &root.rx);
    if (!e) e = crt_watch_new(sizeof first, &first, &root.setting, &root.seen);
    filter_start.quads = 5;
    if (e) {
        say("cannot start", (uint32_t)-e, " (negated)");
        return 1;
    }
    crt_poll r = crt_block_on(rt, supervisor_run, &root);
    check("the supervisor ends well", r == 0);

    crt_runtime_metrics m;
    crt_metrics(rt, &m);
    say("tasks polled", (uint32_t)m.worker_poll_count, " times");
    say("the processor slept", sleeps, " times");
    say("allocations at the start", asked_at_start, "");
    say("allocations after it", asked_later, "");
    say("bytes of the arena that are used", (uint32_t)arena_used, "");
    say("bytes of the runtime", (uint32_t)(sizeof *rt + sizeof(crt__worker)), "");
    say("bytes of a task", (uint32_t)sizeof(crt_task), " and its frame");
    say("bytes of a static task's storage", CRT__TASK_HEADER, " and its frame");
    say("data", (uint32_t)(data_end - data_begin), " bytes");
    say("bss", (uint32_t)(bss_end - bss_begin), " bytes");
    board_print(checks_failed ? "FAILED\n" : "");
    print_number(checks_passed);
    board_print(" passed, ");
    print_number(checks_failed);
    board_print(" failed\n");
    return checks_failed != 0;
}

void reset_handler(void)
{
    memcpy(data_begin, data_in_flash, (size_t)(data_end - data_begin));
    memset(bss_begin, 0, (size_t)(bss_end - bss_begin));
    board_start();
    board_exit(program());
}
static void fault_handler(void)
{
    board_print("a fault\n");
    board_exit(1);
}

typedef void (*handler)(void);
extern unsigned char stack_top[];
struct vectors {
    void *stack;
    handler system[15], interrupt[IRQS];
};
__attribute__((section(".vectors"), used)) static const struct vectors vectors = {
    .stack = stack_top,
    .system = {[0] = reset_handler, [1] = fault_handler, [2] = fault_handler, [3] = fault_handler,
               [4] = fault_handler, [5] = fault_handler, [14] = systick_handler},
    .interrupt = {[IRQ_TIMER0] = timer0_handler, [IRQ_SOFT] = soft_handler},
};
