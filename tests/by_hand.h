// by_hand.h - polls leaf functions by hand, each with a slot of its own, inside one poll
// of one task: AT(s[0], crt_mutex_lock(cx, &m)). So "three wait, the second is cancelled
// after its grant" is a straight line without scheduling.
#ifndef CRT_TEST_BY_HAND_H
#define CRT_TEST_BY_HAND_H

#define AT(slot_, ...)                                                                     \
    (cx->budget = 128, held = cx->slot, cx->slot = &(slot_), got = (crt_poll)(__VA_ARGS__), \
     cx->slot = held, got)
// The same, with a cancellation delivered to it.
#define CANCEL(slot_, ...) (cx->unwind = 1, AT(slot_, __VA_ARGS__))
// What goes away without being polled again: a task that is ended by force.
#define FORGET(slot_) crt__slot_cancel(&(slot_))
// BODY(name) { ... }: a test on a runtime whose body is one poll.
#define BODY(name)                                                                         \
    static void name##_body(crt_cx *cx);                                                   \
    static crt_poll name##_run(void *frame, crt_cx *cx)                                    \
    {                                                                                      \
        (void)frame;                                                                       \
        name##_body(cx);                                                                   \
        return 0;                                                                          \
    }                                                                                      \
    static void name(crt_runtime *rt)                                                      \
    {                                                                                      \
        int frame = 0;                                                                     \
        CHECK_EQ(crt_block_on(rt, name##_run, &frame), 0);                                 \
    }                                                                                      \
    static void name##_body(crt_cx *cx)
#define POLLS crt_slot *held, s[6] = {{0}}; crt_poll got; (void)held; (void)got; (void)s

enum { PENDING = INT_MIN, UNWIND = INT_MIN + 1 };
#endif
