// fuzz_wheel.c: >>wheel against a sorted array, every operation chosen by the input. After
// each of them the structure and `next` are what the section promises; what fires is what
// is due, in order, no sooner.
#include "fuzz_crt.h"

enum { FW_TIMERS = 40 };
#define FW_FAR ((uint64_t)1 << 39)   // eight turns of the wheel; each costs a visit to its slots
typedef struct fw_timer {
    crt_task task;   // what the wheel wakes; first member
    crt_slot slot;
    bool armed;
} fw_timer;
static fw_timer fw_timers[FW_TIMERS];
static crt__wheel fw_wheel;
static uint64_t fw_now;

static uint64_t fw_earliest(void)
{
    uint64_t due = UINT64_MAX;
    for (int i = 0; i < FW_TIMERS; i++)
        if (fw_timers[i].armed && fw_timers[i].slot.value < due) due = fw_timers[i].slot.value;
    return due;
}
static void fw_check(void)
{
    int found = 0, armed = 0;
    uint64_t earliest = fw_earliest();
    uint32_t level_of, index_of;
    for (int i = 0; i < FW_TIMERS; i++) armed += fw_timers[i].armed;
    for (uint32_t level = 0; level < CRT__WHEEL_LEVELS; level++)
        for (uint32_t i = 0; i < CRT__WHEEL_SLOTS; i++) {
            crt_slot *first = fw_wheel.slots[level][i], *before = first;
            FUZZ_CHECK((fw_wheel.occupied[level] >> i & 1) == (first != NULL));
            while (before && before->next) before = before->next;   // the first one's prev is the last
            for (crt_slot *s = first; s; before = s, s = s->next, found++) {
                FUZZ_CHECK(s->prev == before && s->state == CRT__TIMER_QUEUED);
                FUZZ_CHECK(s->extra == level * CRT__WHEEL_SLOTS + i && s->value > fw_wheel.elapsed);
                FUZZ_CHECK((s->value >> (6 * level)) % CRT__WHEEL_SLOTS == i);
            }
        }
    FUZZ_CHECK(found == armed);
    FUZZ_CHECK(fw_wheel.next <= earliest);
    uint64_t begins = crt__wheel_next(&fw_wheel, &level_of, &index_of);
    FUZZ_CHECK((begins == UINT64_MAX) == !armed);
    FUZZ_CHECK(!armed || (begins > fw_wheel.elapsed && begins <= earliest));
}
static void fw_insert(fw_timer *t, uint64_t due)
{
    if (t->armed) return;
    memset(t, 0, sizeof *t);
    t->task.state = CRT__REF;
    t->slot.task = &t->task;
    t->slot.value = due;
    bool queued = crt__wheel_insert(&fw_wheel, &t->slot);
    FUZZ_CHECK(queued == (due > fw_wheel.elapsed));
    t->armed = queued;
}
static void fw_advance(uint64_t tick)
{
    crt__list ready = {NULL, NULL};
    uint64_t before = fw_wheel.elapsed, last = 0;
    uint32_t n = crt__wheel_advance(&fw_wheel, tick, &ready), seen = 0;
    for (crt_task *x; (x = crt__list_pop(&ready)); seen++) {
        fw_timer *t = (fw_timer *)(void *)x;
        FUZZ_CHECK(t->armed && t->slot.state == CRT__TIMER_FIRED);
        FUZZ_CHECK(t->slot.value <= tick && t->slot.value >= last);
        last = t->slot.value;
        t->armed = false;
    }
    FUZZ_CHECK(seen == n && (fw_earliest() > tick || tick < before));
    FUZZ_CHECK(fw_wheel.elapsed == (tick > before ? tick : before));
}
// A distance around a boundary, or anything.
static uint64_t fw_distance(void)
{
    uint32_t how = fuzz_byte();
    uint64_t unit = (uint64_t)1 << (6 * (how / 8 % 8));
    switch (how % 8) {
    case 0: return fuzz_byte();
    case 1: return unit;
    case 2: return unit + 1;
    case 3: return unit - 1;
    case 4: return unit * (fuzz_byte() + 1);
    case 5: return (fw_wheel.elapsed / unit + 1 + fuzz_byte() % 3) * unit - fw_wheel.elapsed;
    case 6: return fuzz_u64(1 + (int)(how / 8 % 7));
    default: return ((uint64_t)1 << 36) * (1 + fuzz_byte() % 4) + fuzz_byte() - 1;
    }
}
FUZZ(wheel)
{
    static const uint64_t starts[] = {0, 1, 63, 4095, ((uint64_t)1 << 30) - 2, ((uint64_t)63 << 30) - 3, ((uint64_t)1 << 36) - 2,
                                      ((uint64_t)5 << 36) - 1, (uint64_t)INT64_MAX / 1000000 - 50000};
    memset(fw_timers, 0, sizeof fw_timers);
    memset(&fw_wheel, 0, sizeof fw_wheel);
    fw_wheel.next = UINT64_MAX;
    fw_now = fw_wheel.elapsed = starts[fuzz_choose(9)];
    while (fuzz_more()) {
        fw_timer *t = &fw_timers[fuzz_choose(FW_TIMERS)];
        switch (fuzz_choose(8)) {
        case 0: case 1: case 2: fw_insert(t, fw_now + fw_distance() % FW_FAR); break;
        case 3: fw_insert(t, fw_wheel.elapsed - fuzz_byte() % (fw_wheel.elapsed + 1)); break;
        case 4:
            if (t->armed) crt__wheel_unlink(&fw_wheel, &t->slot);
            t->armed = false;
            break;
        case 5: fw_advance(fw_now += fw_distance() % FW_FAR); break;
        case 6: {   // just before the next, and at it; the clock may step back in between
            uint64_t due = fw_earliest();
            if (due == UINT64_MAX || due <= fw_now) break;
            fw_advance(fw_now = due - 1);
            fw_advance(fw_now - fuzz_byte() % (fw_now + 1));
            FUZZ_CHECK(fw_earliest() == due);
            fw_advance(fw_now = due);
            break;
        }
        default:   // nobody served it for a while: what crt__timer_start does
            fw_now += fuzz_byte();
            if (fw_now > fw_wheel.elapsed && fw_now < fw_wheel.next) fw_wheel.elapsed = fw_now;
        }
        fw_check();
    }
    for (uint64_t due; (due = fw_earliest()) != UINT64_MAX;) fw_advance(fw_now = due > fw_now ? due : fw_now);
    fw_advance(fw_now);   // the last may have been cancelled: `next` is put right here
    fw_check();
    FUZZ_CHECK(fw_wheel.next == UINT64_MAX);
}
