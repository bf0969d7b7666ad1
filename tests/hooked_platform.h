// hooked_platform.h - the platform of this system, and places where a test may step in
//
//   #define CRT_PLATFORM_HEADER "hooked_platform.h"
//   #define CRT_IMPLEMENTATION
//   #include "crt.h"
//
// hook_cas is called before each compare-and-swap of what follows >>reactor in crt.h, with
// the word that it is about; hook_woken after each wake-up of a futex. NULL: nobody.
static void (*hook_cas)(void *word), (*hook_woken)(void *word);   // set while nobody else runs, or by who is hooked

#define crt__futex_wake hook__futex_wake
#include CRT__SYSTEM_HEADER
#undef crt__futex_wake
static void crt__futex_wake(uint32_t *addr, int how_many)
{
    hook__futex_wake(addr, how_many);
    if (hook_woken) hook_woken(addr);
}
static inline void hook__step_in(void *word)
{
    if (hook_cas) hook_cas(word);
}
#undef crt__atomic_cas
#undef crt__atomic_cas_weak
#define crt__atomic_cas(p, expected, desired, ok, no)                                      \
    (hook__step_in((void *)(p)), __atomic_compare_exchange_n((p), (expected), (desired), 0, (ok), (no)))
#define crt__atomic_cas_weak(p, expected, desired, ok, no)                                 \
    (hook__step_in((void *)(p)), __atomic_compare_exchange_n((p), (expected), (desired), 1, (ok), (no)))
