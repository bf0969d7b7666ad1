// interrupts_platform.h - a machine without an operating system, with an interrupt that comes where a test says
//
//   #define CRT_NO_THREADS
//   #define CRT__BARE
//   #define CRT_PLATFORM_HEADER "interrupts_platform.h"
//   #define CRT_IMPLEMENTATION
//   #include "crt.h"
//
// The handler can come in at every place: while interrupts are on, before and after each access
// to shared memory, and in a sleep. Places are counted from 1, and machine.at names those where
// it does. What a handler must not do is noted (machine.wrong); one that can never end, or a
// sleep that nothing ends, goes to machine.out. Time passes in sleeps alone.
// What crt.h does before it comes to this header has places at its read-modify-writes only.
#include <setjmp.h>

static struct {
    void (*handler)(void);
    long at[2];         // 0: not, or not any more
    long places, runs;  // so far
    bool ticks;         // a sleep without end is ended by the handler, as often as need be
    bool may_time, may_heap;   // the handler may look at the clock, ask the heap
    bool off, inside;
    long steps;         // of the handler, in one run
    long idled;         // sleeps that ticks have ended
    int64_t now;
    const char *wrong;
    jmp_buf out;
} machine;

static void machine_note(const char *what)
{
    if (!machine.wrong) machine.wrong = what;
}
static void machine_stuck(const char *what)
{
    machine_note(what);
    machine.inside = false;
    longjmp(machine.out, 1);
}
static void machine_enter(void)
{
    machine.inside = true;
    machine.steps = 0;
    machine.runs++;
    machine.handler();
    if (machine.off) machine_note("a handler leaves interrupts off");
    machine.off = machine.inside = false;
}
static void machine_place(void)
{
    if (machine.off) return;
    if (machine.inside) {   // the longest takes some hundred
        if (++machine.steps > 100000) machine_stuck("a handler waits for what it has interrupted");
        return;
    }
    machine.places++;
    if (machine.places == machine.at[0] || machine.places == machine.at[1]) machine_enter();
}
// Asleep without end: whatever is still to come comes now.
static void machine_idle(void)
{
    for (int i = 0; i < 2; i++) {
        if (machine.at[i] <= machine.places) continue;
        machine.at[i] = 0;
        machine_enter();
        return;
    }
    if (!machine.ticks || ++machine.idled > 1000) machine_stuck("sleeps for ever");
    machine_enter();
}

static inline uint32_t crt__interrupts_off(void)
{
    machine_place();
    uint32_t were = machine.off;
    machine.off = true;
    return were;
}
static inline void crt__interrupts_on(uint32_t were)
{
    machine.off = were != 0;
    machine_place();
}
static inline bool crt__in_interrupt(void) { return machine.inside; }
static int64_t crt__clock(void)
{
    if (machine.inside && !machine.may_time) machine_note("a handler looks at the clock");
    return machine.now;
}
static int crt__futex_wait(uint32_t *word, uint32_t expected, int64_t timeout_ns)
{
    if (machine.inside) machine_stuck("a handler sleeps");
    if (machine.off) machine_note("sleeps with interrupts off");
    machine_place();
    if (*(volatile uint32_t *)word != expected) return 0;
    long runs = machine.runs;
    if (timeout_ns < 0) machine_idle();
    else machine_place();
    if (runs != machine.runs) return 0;
    machine.now += timeout_ns;
    return 1;
}
static void crt__futex_wake(uint32_t *word, int how_many) { (void)word, (void)how_many; }
static void crt__log_line(const char *level, const char *line) { fprintf(stderr, "crt: %s: %s\n", level, line); }

// Those that change something turn interrupts off, which is a place.
#undef crt__atomic_load
#undef crt__atomic_store
#define crt__atomic_load(p, order) (machine_place(), crt__plain_load(p, crt__plain_name, crt__plain_name))
#define crt__atomic_store(p, v, order)                                                     \
    (machine_place(), crt__plain_store(p, v, crt__plain_name, crt__plain_name), machine_place())
