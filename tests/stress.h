// stress.h - what the programs of make stress share: chance, counters, and waits that may be given up
#ifndef CRT_TEST_STRESS_H
#define CRT_TEST_STRESS_H

enum { GAVE_UP = CRT_ETIMEDOUT };

static long add(long *n, long by) { return __atomic_add_fetch(n, by, __ATOMIC_SEQ_CST); }
static long get(const long *n) { return __atomic_load_n(n, __ATOMIC_SEQ_CST); }
static uint32_t pick(uint64_t *rng, uint32_t below)
{
    *rng ^= *rng << 13;
    *rng ^= *rng >> 7;
    *rng ^= *rng << 17;
    return (uint32_t)(*rng >> 33) % below;
}
// Waits for a poll, or gives it up, as the loser of a select or after `patience`: self->r is its result or GAVE_UP.
// given_up(which, self) has the result of a select: self->got, or GAVE_UP.
#define TRY_WITHIN(patience, ...)                                                          \
    do {                                                                                   \
        self->way = (int)pick(&self->rng, 4);                                              \
        CRT_AWAIT(self->r = self->way < 2 ? (crt_poll)(__VA_ARGS__)                        \
            : self->way == 2 ? given_up(crt_select(cx, &self->sel,                         \
                  crt_on(cx, 0, self->got = (crt_poll)(__VA_ARGS__)), crt_on(cx, 1, crt_yield_now(cx))), self) \
            : crt_timeout(cx, &self->timer, (patience), (crt_poll)(__VA_ARGS__)));         \
    } while (0)

#endif
