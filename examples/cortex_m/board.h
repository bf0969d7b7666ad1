// board.h - the registers of a Cortex-M3, and of the one timer of the board that is used
#ifndef BOARD_H
#define BOARD_H
#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))
// SysTick counts down from SYST_RVR to 0, at the processor's clock, and begins again.
#define SYST_CSR REGISTER(0xE000E010u)   // 1: runs, 2: interrupts at 0, 4: the processor's clock
#define SYST_RVR REGISTER(0xE000E014u)   // 24 bits
#define SYST_CVR REGISTER(0xE000E018u)   // any write: 0
#define ICSR REGISTER(0xE000ED04u)
#define ICSR_SYSTICK_PENDING (1u << 26)
#define ICSR_CLEAR_SYSTICK (1u << 25)
#define NVIC_ENABLE REGISTER(0xE000E100u)    // a bit for each of 32 interrupts
#define NVIC_PEND REGISTER(0xE000E200u)
// Timer 0 of the board: counts down, interrupts at 0.
#define TIMER0_CTRL REGISTER(0x40000000u)    // 1: runs, 8: interrupts
#define TIMER0_VALUE REGISTER(0x40000004u)
#define TIMER0_RELOAD REGISTER(0x40000008u)
#define TIMER0_INTCLEAR REGISTER(0x4000000Cu)

enum { CLOCK_HZ = 25000000, IRQ_TIMER0 = 8, IRQ_SOFT = 30, IRQS = 32 };

// What it prints goes to the debugger, which here is qemu ("semihosting").
static inline uintptr_t semihosting(uintptr_t operation, const void *argument)
{
    register uintptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
static inline void board_print(const char *text) { semihosting(0x04, text); }
static inline void board_exit(int status)
{
    uintptr_t why[2] = {0x20026, (uintptr_t)status};   // "the application exits"
    semihosting(0x20, why);
    for (;;) {}
}
#endif
