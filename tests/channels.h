// channels.h - what the tests of channels share: the implementation with counted memory
// that can be made to fail, leaves polled by hand, elements that count themselves.
//
// A leaf is polled by hand with a slot of its own, inside one poll of one task:
// AT(slot, crt_mpsc_send(cx, tx, &x)). So "three senders wait, the second is cancelled
// after its grant" is a straight line without scheduling.
#ifndef CRT_TEST_CHANNELS_H
#define CRT_TEST_CHANNELS_H

#include <stdlib.h>
static long memory_live;           // allocations of crt not yet freed; atomic
static int memory_fails_at = -1;   // the allocation to fail, counted down; -1: none
static void *counted_malloc(size_t n)
{
    if (__atomic_load_n(&memory_fails_at, __ATOMIC_SEQ_CST) >= 0 &&
        __atomic_fetch_sub(&memory_fails_at, 1, __ATOMIC_SEQ_CST) == 0)
        return NULL;
    __atomic_fetch_add(&memory_live, 1, __ATOMIC_SEQ_CST);
    return malloc(n);
}
static void counted_free(void *p)
{
    if (p) __atomic_fetch_sub(&memory_live, 1, __ATOMIC_SEQ_CST);
    free(p);
}
#define CRT_MALLOC(n) counted_malloc(n)
#define CRT_FREE(p) counted_free(p)
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

#define POLLS crt_slot *held = NULL; crt_poll got = 0; (void)held; (void)got
#define AT(slot_, ...)                                                                     \
    (cx->budget = 128, held = cx->slot, cx->slot = &(slot_), got = (crt_poll)(__VA_ARGS__), \
     cx->slot = held, got)
// The same, with a cancellation delivered to it.
#define CANCEL(slot_, ...) (cx->unwind = 1, AT(slot_, __VA_ARGS__))
// Parked before, and since then granted or told.
#define WOKEN(slot_) ((slot_).op && (slot_).state != CRT__SLOT_QUEUED)
// BODY(name) { ... }: a test on a runtime whose body is one poll. It must leave as many
// allocations as it found.
#define BODY(name)                                                                         \
    static void name##_body(crt_cx *cx);                                                   \
    static crt_poll name##_run(void *frame, crt_cx *cx)                                    \
    {                                                                                      \
        (void)frame;                                                                       \
        long before = __atomic_load_n(&memory_live, __ATOMIC_SEQ_CST);                     \
        name##_body(cx);                                                                   \
        CHECK_EQ(__atomic_load_n(&memory_live, __ATOMIC_SEQ_CST), before);                 \
        return 0;                                                                          \
    }                                                                                      \
    static void name(crt_runtime *rt)                                                      \
    {                                                                                      \
        int frame = 0;                                                                     \
        CHECK_EQ(crt_block_on(rt, name##_run, &frame), 0);                                 \
    }                                                                                      \
    static void name##_body(crt_cx *cx)

enum { PENDING = INT_MIN, UNWIND = INT_MIN + 1 };

// An element that owns something: whoever makes one releases it or sends it.
typedef struct thing {
    int id, check;
} thing;
static int things_alive, things_dropped[128], things_cloned;   // atomic
static CRT__UNUSED void things_forget(void)
{
    things_alive = things_cloned = 0;
    memset(things_dropped, 0, sizeof things_dropped);
}
static CRT__UNUSED thing thing_make(int id)
{
    __atomic_fetch_add(&things_alive, 1, __ATOMIC_SEQ_CST);
    return (thing){id, ~id};
}
static CRT__UNUSED int thing_release(thing t)   // its id
{
    CHECK_EQ(t.check, ~t.id);
    __atomic_fetch_sub(&things_alive, 1, __ATOMIC_SEQ_CST);
    return t.id;
}
static CRT__UNUSED void thing_drop(void *elem, void *user)
{
    thing t;
    CHECK(user == &things_alive);
    memcpy(&t, elem, sizeof t);
    CHECK_EQ(t.check, ~t.id);
    if (t.id >= 0 && t.id < 128) __atomic_fetch_add(&things_dropped[t.id], 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_sub(&things_alive, 1, __ATOMIC_SEQ_CST);
}
static CRT__UNUSED void thing_clone(void *elem, void *user)
{
    thing t;
    CHECK(user == &things_alive);
    memcpy(&t, elem, sizeof t);
    CHECK_EQ(t.check, ~t.id);
    __atomic_fetch_add(&things_alive, 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&things_cloned, 1, __ATOMIC_SEQ_CST);
}
static CRT__UNUSED const crt_elem_ops thing_ops = {thing_clone, thing_drop, &things_alive};

#endif
