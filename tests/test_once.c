// once cell: made once, by one after the other until it succeeds.
//
// Held against Tokio's sync_once_cell.rs and sync_set_once.rs (theirs -> ours):
//   get_or_init                      -> made_by_the_first_for_all
//   get_or_try_init                  -> an_error_goes_to_who_tried_and_the_next_tries
//   get_or_init_panic                -> a_panic_hands_over
//   get_uninit, is_none_initializing, is_some_initializing -> not_set_before_it_is
//   set_and_get, set_twice, from     -> set_from_outside (an expression that is ready at once)
//   set_while_initializing           -> a_second_one_waits_for_the_first (who sets it meanwhile waits its turn)
//   set_and_wait, set_and_wait_multiple_threads, set_and_wait_threads -> all_who_wait_are_told
//   drop_cell, drop_into_inner, into_inner_* and the _new_with forms -> the value is the caller's variable
// Crt's own: the maker is ended by force; a maker that is cancelled; making costs no
// place in the queue. Cancelled before, during, after: test_cancel.c.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#include "by_hand.h"

// What an expression may come to.
static crt_poll ready(crt_cx *cx, int *times, crt_poll r)
{
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    ++*times;
    return r;
}

BODY(not_set_before_it_is)
{
    POLLS;
    crt_once_cell c = {0};
    crt_notify n = {0};
    CHECK(!crt_once_cell_is_set(&c));
    CHECK_EQ(AT(s[0], crt_once_cell_init(cx, &c, crt_notified(cx, &n))), PENDING);
    CHECK(!crt_once_cell_is_set(&c));
    crt_notify_one(&n);
    CHECK_EQ(AT(s[0], crt_once_cell_init(cx, &c, crt_notified(cx, &n))), 0);
    CHECK(crt_once_cell_is_set(&c));
}
BODY(set_from_outside)
{
    POLLS;
    crt_once_cell c = {0};
    int times = 0;
    CHECK_EQ(AT(s[0], crt_once_cell_init(cx, &c, ready(cx, &times, 5))), 0);   // 0, whatever it came to
    CHECK(crt_once_cell_is_set(&c));
    CHECK_EQ(AT(s[0], crt_once_cell_init(cx, &c, ready(cx, &times, 6))), 0);
    CHECK_EQ(AT(s[1], crt_once_cell_wait(cx, &c)), 0);
    CHECK_EQ(times, 1);
    CHECK_EQ(CANCEL(s[0], crt_once_cell_init(cx, &c, ready(cx, &times, 6))), UNWIND);
    CHECK_EQ(CANCEL(s[0], crt_once_cell_wait(cx, &c)), UNWIND);
}
// An expression that takes no notice of the cancellation is left, and the next tries.
static crt_poll deaf(crt_cx *cx) { return (void)cx, CRT_PENDING; }
BODY(a_deaf_maker_is_left)
{
    POLLS;
    crt_once_cell c = {0};
    int times = 0;
    for (int i = 0; i < 2; i++) {   // at its first poll, and later
        if (i) CHECK_EQ(AT(s[0], crt_once_cell_init(cx, &c, deaf(cx))), PENDING);
        if (i) CHECK_EQ(AT(s[1], crt_once_cell_init(cx, &c, ready(cx, &times, 0))), PENDING);
        CHECK_EQ(CANCEL(s[0], crt_once_cell_init(cx, &c, deaf(cx))), UNWIND);
        CHECK(!cx->unwind && !s[0].op && !crt_once_cell_is_set(&c));
    }
    CHECK_EQ(AT(s[1], crt_once_cell_init(cx, &c, ready(cx, &times, 0))), 0);
    CHECK(crt_once_cell_is_set(&c) && times == 1);
}
BODY(a_second_one_waits_for_the_first)
{
    POLLS;
    crt_once_cell c = {0};
    crt_notify n = {0};
    int times = 0;
    CHECK_EQ(AT(s[0], crt_once_cell_init(cx, &c, crt_notified(cx, &n))), PENDING);
    CHECK_EQ(AT(s[1], crt_once_cell_init(cx, &c, ready(cx, &times, 0))), PENDING);
    CHECK_EQ(AT(s[1], crt_once_cell_init(cx, &c, ready(cx, &times, 0))), PENDING);
    CHECK_EQ(AT(s[0], crt_once_cell_init(cx, &c, crt_notified(cx, &n))), PENDING);
    crt_notify_one(&n);
    CHECK_EQ(AT(s[1], crt_once_cell_init(cx, &c, ready(cx, &times, 0))), PENDING);
    CHECK_EQ(AT(s[0], crt_once_cell_init(cx, &c, crt_notified(cx, &n))), 0);
    CHECK_EQ(AT(s[1], crt_once_cell_init(cx, &c, ready(cx, &times, 0))), 0);
    CHECK_EQ(times, 0);
}
BODY(an_error_goes_to_who_tried_and_the_next_tries)
{
    POLLS;
    crt_once_cell c = {0};
    crt_notify n = {0};
    int times = 0, later = 0;
    CHECK_EQ(AT(s[5], crt_once_cell_init(cx, &c, ready(cx, &times, -7))), -7);   // nobody waits: empty again
    CHECK(!crt_once_cell_is_set(&c));
    CHECK_EQ(AT(s[0], crt_once_cell_init(cx, &c, crt_notified(cx, &n))), PENDING);
    CHECK_EQ(AT(s[1], crt_once_cell_wait(cx, &c)), PENDING);   // the oldest, but it never makes
    CHECK_EQ(AT(s[2], crt_once_cell_init(cx, &c, ready(cx, &times, -8))), PENDING);
    CHECK_EQ(AT(s[3], crt_once_cell_init(cx, &c, ready(cx, &later, 0))), PENDING);
    CHECK_EQ(CANCEL(s[0], crt_once_cell_init(cx, &c, crt_notified(cx, &n))), UNWIND);
    CHECK_EQ(AT(s[3], crt_once_cell_init(cx, &c, ready(cx, &later, 0))), PENDING);
    CHECK_EQ(AT(s[1], crt_once_cell_wait(cx, &c)), PENDING);
    CHECK_EQ(AT(s[2], crt_once_cell_init(cx, &c, ready(cx, &times, -8))), -8);
    CHECK_EQ(AT(s[1], crt_once_cell_wait(cx, &c)), PENDING);
    CHECK_EQ(AT(s[3], crt_once_cell_init(cx, &c, ready(cx, &later, 0))), 0);
    CHECK_EQ(AT(s[1], crt_once_cell_wait(cx, &c)), 0);
    CHECK(times == 2 && later == 1);
}
BODY(a_maker_that_is_gone_hands_over)
{
    POLLS;
    crt_once_cell c = {0};
    crt_notify n = {0};
    int times = 0;
    // The task's groups are what a forced end walks: cancel the cell's by hand, as it does.
    CHECK_EQ(AT(s[0], crt_once_cell_init(cx, &c, crt_notified(cx, &n))), PENDING);
    CHECK_EQ(AT(s[1], crt_once_cell_init(cx, &c, ready(cx, &times, 0))), PENDING);
    FORGET(s[0]);
    FORGET(c.crt__making);
    crt__group_unlink(&c.crt__listed);
    CHECK_EQ(AT(s[1], crt_once_cell_init(cx, &c, ready(cx, &times, 0))), 0);
    CHECK_EQ(times, 1);
    CHECK(!n.q.head);
}

// --- tasks

typedef struct shared {
    crt_once_cell cell;
    crt_notify go;
    int value, makings, told, nobody;   // atomic, but for value
} shared;
typedef struct maker {
    crt_frame co;
    shared *sh;
    int how;   // 0: makes it; 1: panics; 2: fails; 3: only waits
    crt_poll r;
    struct { crt_frame co; struct maker *m; } make;
} maker;
static crt_poll make_run(void *frame, crt_cx *cx)
{
    __typeof__(((maker *)0)->make) *self = frame;
    CRT_BEGIN(self, cx);
    __atomic_add_fetch(&self->m->sh->makings, 1, __ATOMIC_SEQ_CST);
    CRT_YIELD();
    if (self->m->how == 1) CRT_PANIC(cx, "not today");
    if (self->m->how == 2) CRT_RETURN(-4);
    self->m->sh->value = 42;
    CRT_END;
}
static crt_poll maker_run(void *frame, crt_cx *cx)
{
    maker *self = frame;
    CRT_BEGIN(self, cx);
    self->make.m = self;
    if (self->how == 3) CRT_AWAIT(self->r = crt_once_cell_wait(cx, &self->sh->cell));
    else CRT_AWAIT(self->r = crt_once_cell_init(cx, &self->sh->cell, make_run(&self->make, cx)));
    if (self->r == 0) {
        CHECK_EQ(self->sh->value, 42);
        __atomic_add_fetch(&self->sh->told, 1, __ATOMIC_SEQ_CST);
    }
    CRT_RETURN(self->r);
    CRT_END;
}
typedef struct many {
    crt_frame co;
    shared sh;
    crt_join_handle *join[24];
    const int *how;
    int i, n, panics, errors;
    crt_poll r;
    intptr_t result;
} many;
static crt_poll many_run(void *frame, crt_cx *cx)
{
    many *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++)
        CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], maker_run, (&(maker){.sh = &self->sh, .how = self->how[self->i]})), 0);
    for (self->i = 0; self->i < self->n; self->i++) {
        CRT_AWAIT(self->r = crt_join(cx, &self->join[self->i], &self->result));
        self->panics += self->r == CRT_EPANIC;
        self->errors += self->r == 0 && self->result == -4;
        crt_detach(&self->join[self->i]);
    }
    CHECK(crt_once_cell_is_set(&self->sh.cell));
    CHECK_EQ(self->sh.told + self->panics + self->errors, self->n);
    CHECK_EQ(self->sh.makings, 1 + self->panics + self->errors);
    CRT_END;
}
static void run_many(crt_runtime *rt, const int *how, int n, many *m)
{
    *m = (many){.how = how, .n = n};
    CHECK_EQ(crt_block_on(rt, many_run, m), 0);
}
static void made_by_the_first_for_all(crt_runtime *rt)
{
    many m;
    run_many(rt, (const int[24]){0}, 24, &m);
    CHECK_EQ(m.sh.makings, 1);
}
static void a_panic_hands_over(crt_runtime *rt)
{
    many m;
    run_many(rt, (const int[]){1, 1, 3, 2, 1, 0, 0, 3}, 8, &m);
}
static void all_who_wait_are_told(crt_runtime *rt)
{
    many m;
    run_many(rt, (const int[]){3, 3, 3, 3, 3, 3, 3, 0}, 8, &m);
    CHECK_EQ(m.sh.told, 8);
}

// The maker is one of the tasks that a shutdown ends by force: it sits in a cleanup
// that never ends. Whoever waits on another runtime takes over.
typedef struct stuck {
    crt_frame co;
    shared *sh;
    struct { crt_frame co; shared *sh; } inner;
    crt_poll r;
} stuck;
static crt_poll stuck_inner_run(void *frame, crt_cx *cx)
{
    __typeof__(((stuck *)0)->inner) *self = frame;
    CRT_BEGIN(self, cx);
    __atomic_add_fetch(&self->sh->makings, 1, __ATOMIC_SEQ_CST);
    CRT_AWAIT(crt_sleep(cx, CRT_FOREVER));
    CRT_FINALLY
        CRT_AWAIT(crt_sleep(cx, CRT_FOREVER));
    CRT_END;
}
static crt_poll stuck_run(void *frame, crt_cx *cx)
{
    stuck *self = frame;
    CRT_BEGIN(self, cx);
    self->inner.sh = self->sh;
    CRT_AWAIT(self->r = crt_once_cell_init(cx, &self->sh->cell, stuck_inner_run(&self->inner, cx)));
    CRT_END;
}
static void a_forced_end_hands_over(void)
{
    static const crt_config quiet = {.worker_threads = 1, .log = {.func = test_log}};
    shared sh = {0};
    crt_runtime *a, *b;
    crt_handle *ha, *hb;
    crt_join_handle *join = NULL, *stuck_one = NULL;
    CHECK_EQ(crt_runtime_new(&quiet, &a), 0);
    CHECK_EQ(crt_runtime_new(&quiet, &b), 0);
    ha = crt_runtime_handle(a);
    hb = crt_runtime_handle(b);
    CHECK_EQ(crt_handle_spawn_join(ha, &stuck_one, stuck_run, (&(stuck){.sh = &sh})), 0);
    while (!__atomic_load_n(&sh.makings, __ATOMIC_SEQ_CST)) test_pause_us(100);
    CHECK_EQ(crt_handle_spawn_join(hb, &join, maker_run, (&(maker){.sh = &sh})), 0);
    CHECK_EQ(crt_runtime_shutdown(a, CRT_MS(20)), 1);
    CHECK_EQ(crt_join_blocking(&stuck_one, NULL), CRT_ECANCELED);   // a late worker is done with `sh`
    CHECK_EQ(crt_join_blocking(&join, NULL), 0);
    CHECK(crt_once_cell_is_set(&sh.cell) && sh.value == 42);
    crt_handle_drop(&ha);
    crt_handle_drop(&hb);
    crt_runtime_drop(&a);
    crt_runtime_drop(&b);
}

// ---- within itself

typedef struct nested {
    crt_frame co;
    crt_once_cell *cell;
    crt_poll r;
    int makings;
} nested;
static crt_poll nested_run(void *frame, crt_cx *cx)
{
    nested *self = frame;
    CRT_BEGIN(self, cx);
    self->makings++;
    CRT_YIELD();
    static nested inner;
    CRT_AWAIT(self->r = crt_once_cell_init(cx, self->cell, nested_run(&inner, cx)));
    CHECK_EQ(self->r, CRT_EINVAL);
    CHECK(!inner.makings && !crt_once_cell_is_set(self->cell));
    CRT_YIELD();
    CRT_END;
}
static crt_poll nesting_run(void *frame, crt_cx *cx)
{
    nested *self = frame;
    CRT_BEGIN(self, cx);
    static crt_once_cell cell;
    static nested outer;
    cell = (crt_once_cell){.crt__maker = NULL};
    test_log_clear();
    outer = (nested){.cell = &cell};
    CRT_AWAIT(self->r = crt_once_cell_init(cx, &cell, nested_run(&outer, cx)));
    CHECK(self->r == 0 && crt_once_cell_is_set(&cell) && outer.makings == 1);
    CHECK(strstr(test_log_text, "initialises the same cell: give it another") != NULL);
    CRT_END;
}
static void within_itself_it_is_refused(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, nesting_run, &(nested){.r = 0}), 0); }

int main(int argc, char **argv)
{
    static const crt_config quiet = {.log = {.func = test_log}};
    test_init(argc, argv);
    TEST_ON_EACH(not_set_before_it_is);
    TEST_ON_EACH(set_from_outside);
    TEST_ON_EACH(a_second_one_waits_for_the_first);
    TEST_ON_EACH(a_deaf_maker_is_left);
    TEST_ON_EACH(an_error_goes_to_who_tried_and_the_next_tries);
    TEST_ON_EACH(a_maker_that_is_gone_hands_over);
    TEST_ON_EACH(made_by_the_first_for_all);
    test__on_each("a_panic_hands_over", a_panic_hands_over, &quiet);
    TEST_ON_EACH(all_who_wait_are_told);
    test__on_each("within_itself_it_is_refused", within_itself_it_is_refused, &quiet);
    TEST(a_forced_end_hands_over);
    return test_end();
}
