// The timing wheel against a model: a sorted array of deadlines. Millions of random
// inserts, cancels and advances, with deadlines on and beside every boundary that the
// wheel has (64^k, 2^30, 2^36, far beyond), checked after each step against what
// >>wheel promises. The wheel is called directly; its tasks are dummies.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

enum { TIMERS = 384 };

typedef struct timer {
    crt_task task;   // what the wheel wakes; first member
    crt_slot slot;
    uint64_t due;
    bool armed;
} timer;

static timer timers[TIMERS];
static timer *sorted[TIMERS];   // the model: armed timers by deadline
static int armed;
static crt__wheel wheel;
static uint64_t now;            // what the clock says; the wheel may lag behind
static uint64_t rng;
static long inserted, refused, cancelled, fired;

static uint64_t rnd(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
}
static uint64_t below(uint64_t n) { return (rnd() >> 11) % n; }

static void model_add(timer *t)
{
    int i = armed++;
    for (; i > 0 && sorted[i - 1]->due > t->due; i--) sorted[i] = sorted[i - 1];
    sorted[i] = t;
    t->armed = true;
}
static void model_remove(timer *t)
{
    int i = 0;
    while (sorted[i] != t) i++;
    for (armed--; i < armed; i++) sorted[i] = sorted[i + 1];
    t->armed = false;
}

// Every invariant that the section states, over the whole wheel.
static void check_structure(void)
{
    int found = 0;
    for (uint32_t level = 0; level < CRT__WHEEL_LEVELS; level++)
        for (uint32_t i = 0; i < CRT__WHEEL_SLOTS; i++) {
            bool bit = wheel.occupied[level] >> i & 1;
            if (bit != (wheel.slots[level][i] != NULL)) CHECK(!"a bit of occupied[] is wrong");
            crt_slot *before = wheel.slots[level][i];   // the first one's prev is the last one
            while (before && before->next) before = before->next;
            for (crt_slot *s = wheel.slots[level][i]; s; before = s, s = s->next) {
                found++;
                if (s->prev != before) CHECK(!"prev is wrong");
                if (s->state != CRT__TIMER_QUEUED) CHECK(!"a queued timer is not QUEUED");
                if (s->extra != level * CRT__WHEEL_SLOTS + i) CHECK(!"extra is not the place");
                if (s->value <= wheel.elapsed) CHECK(!"a timer is due at or before elapsed");
                if ((s->value >> (6 * level) & 63) != i) CHECK(!"the index is not the digit");
                uint64_t differ = s->value ^ wheel.elapsed;
                uint32_t want = differ < 64 ? 0 : (63 - crt__clz64(differ)) / 6;
                if (want > CRT__WHEEL_LEVELS - 1) want = CRT__WHEEL_LEVELS - 1;
                if (level != want) CHECK(!"not at the level of the highest differing digit");
            }
        }
    CHECK_EQ(found, armed);
}
static void check_next(void)
{
    if (armed && wheel.next > sorted[0]->due) CHECK(!"`next` is later than the earliest timer");
    uint32_t level, index;
    uint64_t begins = crt__wheel_next(&wheel, &level, &index);
    if (begins <= wheel.elapsed) CHECK(!"the next slot begins in the past: the wheel would not move on");
    if ((begins == UINT64_MAX) != (armed == 0)) CHECK(!"next slot of an empty wheel, or none of a full one");
    if (armed && begins > sorted[0]->due) CHECK(!"the next slot begins after the earliest timer");
}

static void insert(uint64_t due)
{
    timer *t = &timers[below(TIMERS)];
    if (t->armed) return;
    memset(&t->task, 0, sizeof t->task);
    t->task.state = CRT__REF;
    memset(&t->slot, 0, sizeof t->slot);
    t->slot.task = &t->task;
    t->slot.value = t->due = due;
    bool queued = crt__wheel_insert(&wheel, &t->slot);
    // Only what the wheel has passed may be refused, and all of that is.
    if (queued != (due > wheel.elapsed)) CHECK(!"insert took a past deadline or refused a future one");
    if (queued) model_add(t);
    queued ? inserted++ : refused++;
}
static void cancel(void)
{
    if (!armed) return;
    timer *t = sorted[below((uint64_t)armed)];
    crt__wheel_unlink(&wheel, &t->slot);
    t->slot.state = 0;
    model_remove(t);
    cancelled++;
}
// To `tick`: exactly those due by then fire, each once, in the order of their deadlines.
static void advance(uint64_t tick)
{
    crt__list ready = {NULL, NULL};
    uint64_t before = wheel.elapsed, last = 0;
    uint32_t n = crt__wheel_advance(&wheel, tick, &ready), seen = 0;
    for (crt_task *x; (x = crt__list_pop(&ready));) {
        timer *t = (timer *)(void *)x;
        if (!t->armed) { CHECK(!"a timer fired twice, or after it was cancelled"); return; }
        if (t->due > tick) CHECK(!"a timer fired early");
        if (t->due < last) CHECK(!"timers fired out of order");
        if (t->slot.state != CRT__TIMER_FIRED) CHECK(!"a fired timer is not FIRED");
        last = t->due;
        model_remove(t);
        seen++;
    }
    if (seen != n) CHECK(!"the count is not what was woken");
    if (armed && sorted[0]->due <= tick) CHECK(!"a timer that is due did not fire");
    uint64_t want = tick > before ? tick : before;   // a clock that steps back is ignored
    if (wheel.elapsed != want) CHECK(!"elapsed is not where time is");
    fired += n;
}

// A deadline at an interesting distance from where the wheel, or the clock, stands.
static uint64_t some_deadline(void)
{
    uint64_t from = below(4) ? now : wheel.elapsed;
    uint32_t k = (uint32_t)below(8);   // 64^0 .. 64^7
    uint64_t unit = (uint64_t)1 << (6 * k);
    switch (below(9)) {
    case 0: return from + below(4);
    case 1: return from + below(200);
    case 2: return from + unit + below(3) - 1;
    case 3: return ((from / unit) + 1 + below(3)) * unit + below(3) - 1;   // beside a boundary
    case 4: return from + below(unit * 64);
    case 5: return from + ((uint64_t)1 << 30) * below(70) + below(3) - 1;
    case 6: return from + ((uint64_t)1 << 36) * (1 + below(4)) + below(3) - 1;
    case 7: return from + ((uint64_t)1 << (37 + below(6))) + below(1000);
    default: return from - below(from < 100 ? from + 1 : 100);   // past
    }
}
static void some_advance(void)
{
    uint64_t earliest = armed ? sorted[0]->due : now + 1;
    switch (below(10)) {
    case 0: now += 1; break;
    case 1: now += below(100); break;
    case 2: if (earliest > now) now = earliest - 1; break;   // must not fire
    case 3: if (earliest > now) now = earliest; break;       // must fire
    case 4: now = (now / 64 + 1) * 64 + below(3) - 1; break;
    case 5: now += below((uint64_t)1 << (6 * (1 + below(3)))); break;
    case 6: if (armed) now = sorted[below((uint64_t)armed) / 8]->due > now ? sorted[0]->due : now; break;
    case 7: if (!below(50)) now += (uint64_t)1 << (6 * below(8)); break;
    case 8: advance(wheel.elapsed > 5 ? wheel.elapsed - below(5) : 0); return;   // clock stepped back
    default: if (!below(500)) now += (uint64_t)1 << 37; break;
    }
    if (now < wheel.elapsed) now = wheel.elapsed;
    advance(now);
}

static void run_model(uint64_t seed, uint64_t start, long steps, bool check_each)
{
    rng = seed * 0x9E3779B97F4A7C15ull + 1;
    memset(&wheel, 0, sizeof wheel);
    memset(timers, 0, sizeof timers);
    armed = 0;
    inserted = refused = cancelled = fired = 0;
    wheel.next = UINT64_MAX;
    now = wheel.elapsed = start;
    for (long i = 0; i < steps && !test__bad; i++) {
        uint64_t dice = below(100);
        uint64_t crowd = i / 4096 % 2 ? 55 : 42;   // now more, now fewer timers
        if (dice < crowd) insert(some_deadline());
        else if (dice < 70) cancel();
        else if (dice < 74) now += below(40);   // time passes and nobody serves: `elapsed` is stale
        // What crt__timer_start does before it inserts into a wheel nobody served.
        else if (dice < 78) { if (now > wheel.elapsed && now < wheel.next) wheel.elapsed = now; }
        else some_advance();
        check_next();
        if (check_each || i % 64 == 0) check_structure();
    }
    check_structure();
    while (armed && !test__bad) {   // whatever is left fires at its time
        uint64_t due = sorted[0]->due;
        if (due > now) {
            now = due - 1;
            advance(now);
            if (due > wheel.elapsed) CHECK(sorted[0]->due == due);
        }
        now = due;
        advance(now);
    }
    advance(now);   // the last may have been cancelled: `next` is put right here
    CHECK_EQ(inserted, cancelled + fired);
    CHECK(steps < 10000 || (fired > 100 && cancelled > 100 && refused > 100));
    for (int l = 0; l < CRT__WHEEL_LEVELS; l++) CHECK_EQ(wheel.occupied[l], 0);
    CHECK(wheel.next == UINT64_MAX);
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { STEPS = 60000 };
#else
enum { STEPS = 400000 };
#endif

static void random_operations_match_the_model(void)
{
    for (uint64_t seed = 1; seed <= 4; seed++) run_model(seed, 0, STEPS, false);
}
static void the_structure_holds_after_every_step(void)
{
    for (uint64_t seed = 11; seed <= 14; seed++) run_model(seed, 0, STEPS / 10, true);
}
static void time_near_2_to_the_30_wraps(void)
{
    for (uint64_t seed = 21; seed <= 23; seed++) {
        run_model(seed, ((uint64_t)1 << 30) - 100, STEPS / 4, false);
        run_model(seed, ((uint64_t)63 << 30) - 3, STEPS / 4, false);
    }
}
static void time_near_2_to_the_36_wraps(void)
{
    for (uint64_t seed = 31; seed <= 33; seed++) {
        run_model(seed, ((uint64_t)1 << 36) - 100, STEPS / 4, false);
        run_model(seed, ((uint64_t)5 << 36) - 1, STEPS / 4, false);
    }
}
static void time_far_beyond_the_top_level(void)
{
    for (uint64_t seed = 41; seed <= 43; seed++)
        run_model(seed, (uint64_t)INT64_MAX / 1000000 - 50000, STEPS / 4, false);
}

static void reset_wheel(uint64_t elapsed)
{
    memset(&wheel, 0, sizeof wheel);
    memset(timers, 0, sizeof timers);
    armed = 0;
    wheel.next = UINT64_MAX;
    now = wheel.elapsed = elapsed;
}
// One timer at each distance from each start, alone: fires at its tick, not before.
static void one_timer_fires_exactly_at_its_tick(void)
{
    static const uint64_t edges[] = {1, 2, 63, 64, 65, 127, 128, 4095, 4096, 4097, 262143, 262144, 262145,
        16777215, 16777216, 16777217, 1073741823, 1073741824, 1073741825, 68719476735, 68719476736,
        68719476737, 4398046511103, 4398046511104, 4398046511105, 9223372036854, 9223372036855};
    enum { N = sizeof edges / sizeof *edges };
    rng = 5;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            for (int stale = 0; stale < 2 && !test__bad; stale++) {
                reset_wheel(edges[i] - 1);
                uint64_t due = wheel.elapsed + edges[j];
                insert(due);
                CHECK_EQ(armed, 1);
                check_structure();
                if (stale && due - 1 > wheel.elapsed) advance(wheel.elapsed + (due - wheel.elapsed) / 2);
                if (due > wheel.elapsed) {
                    advance(due - 1);
                    CHECK_EQ(armed, 1);
                    check_structure();
                }
                advance(due);
                CHECK_EQ(armed, 0);
                CHECK(wheel.next == UINT64_MAX);
            }
}
// A far deadline must not cost a visit to every slot on the way.
static void a_far_timer_is_reached_in_few_steps(void)
{
    rng = 6;
    reset_wheel(0);
    insert((uint64_t)INT64_MAX / 1000000);
    int steps = 0;
    while (armed && ++steps < 100000) advance(wheel.next);
    CHECK_EQ(armed, 0);
    CHECK(steps < 10000);
}
static void many_in_one_slot_come_and_go(void)
{
    rng = 7;
    reset_wheel(0);
    for (int round = 0; round < 50; round++) {
        while (armed < TIMERS) insert(now + 5000);
        check_structure();
        for (int i = 0; i < TIMERS / 2; i++) cancel();
        check_structure();
        advance(now + 4999);
        CHECK_EQ(armed, TIMERS - TIMERS / 2);
        advance(now += 5000);
        CHECK_EQ(armed, 0);
    }
}

// The wheels inside a runtime: sleepers that end and sleepers that are cancelled
// leave nothing behind, on whichever worker they were.
typedef struct sleeper {
    crt_frame co;
    crt_duration d;
} sleeper;
static crt_poll sleeper_run(void *frame, crt_cx *cx)
{
    sleeper *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, self->d));
    CRT_END;
}
typedef struct crowd {
    crt_frame co;
    crt_join_handle *join[200];
    int i;
    crt_poll r;
} crowd;
static crt_poll crowd_run(void *frame, crt_cx *cx)
{
    crowd *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 200; self->i++) {
        static const crt_duration often[] = {CRT_MS(1), CRT_MS(7), CRT_SEC(100), CRT_SEC(86400 * 365LL), CRT_FOREVER};
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], sleeper_run, &(sleeper){.d = often[self->i % 5]}), 0);
    }
    CRT_AWAIT(crt_sleep(cx, CRT_MS(3)));
    for (self->i = 0; self->i < 200; self->i++)
        if (self->i % 5 > 1) crt_abort(self->join[self->i]);
    for (self->i = 0; self->i < 200; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], NULL));
        CHECK_EQ(self->r, self->i % 5 > 1 ? CRT_ECANCELED : 0);
    }
    CRT_END;
}
static void a_runtime_leaves_its_wheels_empty(crt_runtime *rt)
{
    crowd c = {.i = 0};
    CHECK_EQ(crt_block_on(rt, crowd_run, &c), 0);
    for (uint32_t i = 0; i < rt->worker_count; i++) {
        crt__wheel *w = &rt->workers[i].wheel;
        crt__lock(&w->lock);
        for (int l = 0; l < CRT__WHEEL_LEVELS; l++) {
            CHECK_EQ(w->occupied[l], 0);
            for (int s = 0; s < CRT__WHEEL_SLOTS; s++) CHECK(w->slots[l][s] == NULL);
        }
        crt__unlock(&w->lock);
    }
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST(one_timer_fires_exactly_at_its_tick);
    TEST(many_in_one_slot_come_and_go);
    TEST(a_far_timer_is_reached_in_few_steps);
    TEST(random_operations_match_the_model);
    TEST(the_structure_holds_after_every_step);
    TEST(time_near_2_to_the_30_wraps);
    TEST(time_near_2_to_the_36_wraps);
    TEST(time_far_beyond_the_top_level);
    TEST_ON_EACH(a_runtime_leaves_its_wheels_empty);
    return test_end();
}
