// platform.h - what crt needs of a Cortex-M, for CRT_PLATFORM_HEADER
//
// BARE METAL in crt.h says what each of these has to do. Nothing here is about one board:
// SysTick, PRIMASK and WFI are in every Cortex-M. It works down to the M0, which has no
// instructions for atomics: crt does without them here.
//
// Time is counted in cycles of SysTick, which is 24 bits wide: at 25 MHz it begins again after
// 0.67 s, and its handler adds up how much that was. To sleep until a moment it is set to
// end there: no tick every millisecond, which would wake the processor for nothing. What a
// new setting costs (some cycles, while it stands still) is added as a constant.

#include "board.h"

enum { SYSTICK_MOST = 0xffffff, SYSTICK_SET_COST = 12 };

static uint64_t cycles_before;     // that SysTick has counted before it began again
static uint32_t cycles_round;      // what it counts from now
static uint32_t sleeps;            // how often the processor has slept
static uint32_t systick_ends;      // how often SysTick has ended one, or begun again

static inline uint32_t crt__interrupts_off(void)
{
    uint32_t were;
    __asm__ volatile("mrs %0, primask\n\tcpsid i" : "=r"(were) : : "memory");
    return were;
}
static inline void crt__interrupts_on(uint32_t were) { __asm__ volatile("msr primask, %0" : : "r"(were) : "memory"); }
static inline bool crt__in_interrupt(void)
{
    uint32_t number;
    __asm__ volatile("mrs %0, ipsr" : "=r"(number));
    return number != 0;
}

// Sets SysTick to end after so many cycles. With interrupts off.
static void systick_set(uint32_t cycles)
{
    SYST_RVR = cycles_round = cycles;
    SYST_CVR = 0;   // loads it, at the next cycle
    SYST_CSR = 7;
}
// With interrupts off: cycles since the start.
static uint64_t cycles_now(void)
{
    uint32_t left = SYST_CVR;
    uint64_t before = cycles_before;
    if (ICSR & ICSR_SYSTICK_PENDING) {   // it has begun again, and its handler waits to be let in
        left = SYST_CVR;
        before += cycles_round + 1;
    }
    return before + (left ? cycles_round - left : 0);
}
void systick_handler(void)
{
    uint32_t were = crt__interrupts_off();
    cycles_before += cycles_round + 1;
    systick_ends++;
    crt__interrupts_on(were);
}
static int64_t nanoseconds(uint64_t cycles) { return (int64_t)(cycles * (1000000000 / CLOCK_HZ)); }

// Handlers ask only with schedule_histogram or CRT_ENABLE_TRACE. The answer is right unless the
// handler's priority is above SysTick's: all have the same after a reset.
static int64_t crt__clock(void)
{
    uint32_t were = crt__interrupts_off();
    uint64_t cycles = cycles_now();
    crt__interrupts_on(were);
    return nanoseconds(cycles);
}

// Sleeps until SysTick ends `cycles` later, or any interrupt comes. With interrupts off: WFI ends
// for one that waits as well, and it is let in afterwards, so that none is missed.
static void sleep_cycles(uint64_t cycles)
{
    uint32_t set = cycles > SYSTICK_MOST ? SYSTICK_MOST : cycles < 2 ? 2 : (uint32_t)cycles;
    SYST_CSR = 5;   // no more interrupts of the old setting
    uint64_t now = cycles_now() + SYSTICK_SET_COST;
    ICSR = ICSR_CLEAR_SYSTICK;
    systick_set(set);
    cycles_before = now;
    sleeps++;
    __asm__ volatile("dsb\n\twfi" ::: "memory");
}
static int crt__futex_wait(uint32_t *word, uint32_t expected, int64_t timeout_ns)
{
    const volatile uint32_t *at = word;
    int64_t until = timeout_ns < 0 ? INT64_MAX : crt__clock() + timeout_ns;
    for (;;) {
        uint32_t were = crt__interrupts_off();
        int64_t left = until - nanoseconds(cycles_now());
        bool over = *at != expected || left <= 0;
        if (!over) sleep_cycles(timeout_ns < 0 ? SYSTICK_MOST : ((uint64_t)left + 39) / 40);
        crt__interrupts_on(were);   // handlers run here
        if (over) return left <= 0;
    }
}
static void crt__futex_wake(uint32_t *word, int how_many) { (void)word, (void)how_many; }   // the interrupt itself ends WFI

static void crt__log_line(const char *level, const char *line)
{
    board_print("crt: ");
    board_print(level);
    board_print(": ");
    board_print(line);
    board_print("\n");
}
