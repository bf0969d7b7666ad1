// cancel token: a tree, one way; guards; run until cancelled.
//
// Held against tokio-util's sync_cancellation_token.rs (theirs -> ours):
//   cancel_token, cancel_token_owned         -> a_token_wakes_all_who_wait
//   cancel_token_owned_drop_test             -> a_wait_keeps_its_token
//   cancel_child_token_through_parent        -> downwards_only
//   cancel_grandchild_token_through_parent_if_child_was_dropped -> through_a_token_that_was_dropped
//   cancel_child_token_without_parent        -> downwards_only
//   create_child_token_after_parent_was_cancelled -> born_cancelled
//   drop_multiple_child_tokens, drop_parent_before_child_tokens -> dropped_in_any_order
//   cancel_only_all_descendants              -> a_subtree_and_nothing_else
//   run_until_cancelled_test, run_until_cancelled_owned_test -> run_until_cancelled
//   cloned_cancellation_tokens_are_considered_equal, child_..., independent_..., *_hash
//                                            -> a clone is the same pointer, a child is another: clones
//   derives_send_sync, assert_*              -> no meaning in C
// abort_on_drop.rs (an AbortOnDropHandle): crt's form is a handle that CRT_FINALLY
// aborts; its behaviours are those of crt_abort and crt_detach (test_task.c). Crt's own:
// drop guards. Cancelled before, during, after: test_cancel.c.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#include "by_hand.h"
#include <pthread.h>

BODY(a_token_wakes_all_who_wait)
{
    POLLS;
    crt_cancel_token *t = crt_cancel_token_new();
    CHECK(!crt_cancel_token_is_cancelled(t));
    for (int i = 0; i < 3; i++) CHECK_EQ(AT(s[i], crt_cancelled(cx, t)), PENDING);
    CHECK_EQ(CANCEL(s[1], crt_cancelled(cx, t)), UNWIND);
    crt_cancel_token_cancel(t);
    crt_cancel_token_cancel(t);   // again: nothing happens
    CHECK(crt_cancel_token_is_cancelled(t));
    CHECK_EQ(AT(s[2], crt_cancelled(cx, t)), 0);
    CHECK_EQ(AT(s[2], crt_cancelled(cx, t)), 0);   // for good
    CHECK_EQ(CANCEL(s[0], crt_cancelled(cx, t)), UNWIND);
    CHECK_EQ(AT(s[0], crt_cancelled(cx, NULL)), CRT_EINVAL);
    CHECK_EQ(t->refs, 1);
    crt_cancel_token_drop(&t);
    crt_cancel_token_drop(&t);
    CHECK(!t);
}
BODY(a_wait_keeps_its_token)
{
    POLLS;
    crt_cancel_token *t = crt_cancel_token_new(), *also = t, *child = crt_cancel_token_child(t), *waited = child;
    CHECK_EQ(AT(s[0], crt_cancelled(cx, waited)), PENDING);
    crt_cancel_token_drop(&child);   // not the last: the wait has one
    crt_cancel_token_cancel(also);
    CHECK_EQ(AT(s[0], crt_cancelled(cx, waited)), 0);
    crt_cancel_token_drop(&t);
}
BODY(clones)
{
    (void)cx;
    crt_cancel_token *t = crt_cancel_token_new(), *u = crt_cancel_token_clone(t), *c = crt_cancel_token_child(t);
    CHECK(t == u && c != t);
    crt_cancel_token_drop(&t);
    crt_cancel_token_cancel(u);
    CHECK(crt_cancel_token_is_cancelled(c));
    crt_cancel_token_drop(&u);
    crt_cancel_token_drop(&c);
    CHECK(!crt_cancel_token_clone(NULL) && !crt_cancel_token_child(NULL));
}
BODY(downwards_only)
{
    POLLS;
    crt_cancel_token *t = crt_cancel_token_new(), *a = crt_cancel_token_child(t), *b = crt_cancel_token_child(t);
    CHECK_EQ(AT(s[0], crt_cancelled(cx, t)), PENDING);
    CHECK_EQ(AT(s[1], crt_cancelled(cx, a)), PENDING);
    CHECK_EQ(AT(s[2], crt_cancelled(cx, b)), PENDING);
    crt_cancel_token_cancel(a);
    CHECK_EQ(AT(s[0], crt_cancelled(cx, t)), PENDING);
    CHECK_EQ(AT(s[2], crt_cancelled(cx, b)), PENDING);
    CHECK_EQ(AT(s[1], crt_cancelled(cx, a)), 0);
    crt_cancel_token_cancel(t);
    CHECK_EQ(AT(s[0], crt_cancelled(cx, t)), 0);
    CHECK_EQ(AT(s[2], crt_cancelled(cx, b)), 0);
    crt_cancel_token_drop(&t);
    crt_cancel_token_drop(&a);
    crt_cancel_token_drop(&b);
}
BODY(through_a_token_that_was_dropped)
{
    POLLS;
    for (int parent_too = 0; parent_too < 2; parent_too++) {
        crt_cancel_token *t = crt_cancel_token_new(), *a = crt_cancel_token_child(t), *b = crt_cancel_token_child(a);
        crt_cancel_token_drop(&a);
        CHECK_EQ(AT(s[0], crt_cancelled(cx, b)), PENDING);
        if (parent_too) {   // nobody can cancel it from above any more
            crt_cancel_token_drop(&t);
            CHECK_EQ(AT(s[0], crt_cancelled(cx, b)), PENDING);
            crt_cancel_token_cancel(b);
        } else {
            crt_cancel_token_cancel(t);
        }
        CHECK_EQ(AT(s[0], crt_cancelled(cx, b)), 0);
        crt_cancel_token_drop(&b);
        crt_cancel_token_drop(&t);
    }
}
BODY(born_cancelled)
{
    POLLS;
    crt_cancel_token *t = crt_cancel_token_new();
    crt_cancel_token_cancel(t);
    crt_cancel_token *a = crt_cancel_token_child(t), *b = crt_cancel_token_child(a);
    CHECK(crt_cancel_token_is_cancelled(a) && crt_cancel_token_is_cancelled(b));
    CHECK_EQ(AT(s[0], crt_cancelled(cx, b)), 0);
    crt_cancel_token_drop(&a);
    crt_cancel_token_drop(&t);
    crt_cancel_token_drop(&b);
}
BODY(dropped_in_any_order)
{
    (void)cx;
    // All orders in which a parent and three children can go; half of the time cancelled.
    for (int order = 0; order < 256; order++) {
        crt_cancel_token *t[4] = {crt_cancel_token_new()};
        for (int i = 1; i < 4; i++) t[i] = crt_cancel_token_child(i == 3 && (order & 1) ? t[2] : t[0]);
        for (int i = 0, k = order; i < 4; i++, k /= 4) crt_cancel_token_drop(&t[k % 4]);
        if (order & 64)
            for (int i = 0; i < 4; i++)
                if (t[i]) crt_cancel_token_cancel(t[i]);
        for (int i = 0; i < 4; i++) crt_cancel_token_drop(&t[i]);
    }
}
BODY(a_subtree_and_nothing_else)
{
    (void)cx;
    // A tree of 1 + 3 + 9 + 27; each node in turn is cancelled: it and what is below it.
    for (int top = 0; top < 40; top++) {
        crt_cancel_token *t[40];
        for (int i = 0; i < 40; i++) t[i] = i ? crt_cancel_token_child(t[(i - 1) / 3]) : crt_cancel_token_new();
        crt_cancel_token_cancel(t[top]);
        for (int i = 0; i < 40; i++) {
            int k = i;
            while (k > top) k = (k - 1) / 3;
            CHECK_EQ(crt_cancel_token_is_cancelled(t[i]), k == top);
        }
        for (int i = 0; i < 40; i++) crt_cancel_token_drop(&t[(i * 7 + top) % 40]);
    }
}
BODY(a_deep_chain_needs_no_deep_stack)
{
    (void)cx;
    crt_cancel_token *root = crt_cancel_token_new(), *t = crt_cancel_token_clone(root);
    for (int i = 0; i < 100000; i++) {
        crt_cancel_token *child = crt_cancel_token_child(t);
        crt_cancel_token_drop(&t);
        t = child;
    }
    crt_cancel_token_cancel(root);
    CHECK(crt_cancel_token_is_cancelled(t));
    crt_cancel_token_drop(&root);
    crt_cancel_token_drop(&t);
}
BODY(guards)
{
    (void)cx;
    crt_cancel_token *t = crt_cancel_token_new(), *guard = crt_cancel_token_clone(t);
    crt_cancel_token_drop(&guard);         // disarmed
    crt_cancel_token_drop_guard(&guard);   // NULL: nothing
    CHECK(!crt_cancel_token_is_cancelled(t));
    guard = crt_cancel_token_clone(t);
    crt_cancel_token_drop_guard(&guard);
    CHECK(crt_cancel_token_is_cancelled(t) && !guard);
    crt_cancel_token_drop_guard(&t);
    crt_cancel_token_drop_guard(NULL);
}

// --- run until cancelled

typedef struct inner {
    crt_frame co;
    int yields, cleaned, polls;
    crt_poll ends;
} inner;
static crt_poll inner_run(void *frame, crt_cx *cx)
{
    inner *self = frame;
    CRT_BEGIN(self, cx);
    self->polls++;
    for (; self->yields > 0; self->yields--) CRT_YIELD();
    CRT_RETURN(self->ends);
    CRT_FINALLY
        CRT_YIELD();   // waited for
        self->cleaned++;
    CRT_END;
}
typedef struct outer {
    crt_frame co;
    crt_cancel_token *t;
    crt_until until;
    inner in;
    crt_poll r;
    crt_join_handle *join;
    crt_timer timer;
} outer;
static crt_poll canceller_run(void *frame, crt_cx *cx)
{
    (void)cx;
    crt_cancel_token *t = *(crt_cancel_token **)frame;
    crt_cancel_token_cancel(t);
    return 0;
}
static crt_poll outer_run(void *frame, crt_cx *cx)
{
    outer *self = frame;
    CRT_BEGIN(self, cx);
    self->t = crt_cancel_token_new();
    self->in = (inner){.yields = 3, .ends = 9};
    CRT_AWAIT(self->r = crt_run_until_cancelled(cx, &self->until, self->t, inner_run(&self->in, cx)));
    CHECK(self->r == 9 && self->in.cleaned == 1);
    CHECK(!self->t->q.head);
    self->in = (inner){.ends = -9};   // an error is a result
    CRT_AWAIT(self->r = crt_run_until_cancelled(cx, &self->until, self->t, inner_run(&self->in, cx)));
    CHECK_EQ(self->r, -9);
    self->in = (inner){.yields = 1 << 30};   // cancelled halfway, and cleaned up
    CHECK_EQ(crt_spawn(cx, canceller_run, &self->t), 0);
    CRT_AWAIT(self->r = crt_run_until_cancelled(cx, &self->until, self->t, inner_run(&self->in, cx)));
    CHECK(self->r == CRT_ECANCELED && self->in.cleaned == 1);
    self->in = (inner){.ends = 9};           // cancelled already: not even begun
    CRT_AWAIT(self->r = crt_run_until_cancelled(cx, &self->until, self->t, inner_run(&self->in, cx)));
    CHECK(self->r == CRT_ECANCELED && self->in.polls == 0);
    crt_cancel_token_drop(&self->t);
    // Under a timeout that ends it from outside.
    self->t = crt_cancel_token_new();
    self->in = (inner){.yields = 1 << 30};
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(1), crt_run_until_cancelled(cx, &self->until, self->t, inner_run(&self->in, cx))));
    CHECK(self->r == CRT_ETIMEDOUT && self->in.cleaned == 1 && !self->t->q.head);
    CRT_FINALLY
        crt_cancel_token_drop(&self->t);
    CRT_END;
}
static void run_until_cancelled(crt_runtime *rt) { CHECK_EQ(crt_block_on(rt, outer_run, &(outer){0}), 0); }

// --- from a plain thread, to tasks of two runtimes

typedef struct sleeper {
    crt_frame co;
    crt_cancel_token *t;
    int *waits, *gone;
} sleeper;
static crt_poll sleeper_run(void *frame, crt_cx *cx)
{
    sleeper *self = frame;
    CRT_BEGIN(self, cx);
    __atomic_add_fetch(self->waits, 1, __ATOMIC_SEQ_CST);
    CRT_AWAIT(crt_cancelled(cx, self->t));
    __atomic_add_fetch(self->gone, 1, __ATOMIC_SEQ_CST);
    CRT_FINALLY
        crt_cancel_token_drop(&self->t);
    CRT_END;
}
static void two_runtimes_and_a_thread(void)
{
    crt_runtime *rt[2];
    crt_handle *h[2];
    int waits = 0, gone = 0;
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(crt_runtime_new(&(crt_config){.worker_threads = 1 + i}, &rt[i]), 0);
        h[i] = crt_runtime_handle(rt[i]);
    }
    crt_cancel_token *root = crt_cancel_token_new();
    for (int i = 0; i < 20; i++)
        CHECK_EQ(crt_handle_spawn(h[i & 1], sleeper_run,
                                  (&(sleeper){.t = crt_cancel_token_child(root), .waits = &waits, .gone = &gone})), 0);
    while (__atomic_load_n(&waits, __ATOMIC_SEQ_CST) < 20) test_pause_us(100);
    crt_cancel_token_cancel(root);
    while (__atomic_load_n(&gone, __ATOMIC_SEQ_CST) < 20) test_pause_us(100);
    crt_cancel_token_drop(&root);
    for (int i = 0; i < 2; i++) {
        crt_handle_drop(&h[i]);
        crt_runtime_drop(&rt[i]);
    }
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST_ON_EACH(a_token_wakes_all_who_wait);
    TEST_ON_EACH(a_wait_keeps_its_token);
    TEST_ON_EACH(clones);
    TEST_ON_EACH(downwards_only);
    TEST_ON_EACH(through_a_token_that_was_dropped);
    TEST_ON_EACH(born_cancelled);
    TEST_ON_EACH(dropped_in_any_order);
    TEST_ON_EACH(a_subtree_and_nothing_else);
    TEST_ON_EACH(a_deep_chain_needs_no_deep_stack);
    TEST_ON_EACH(guards);
    TEST_ON_EACH(run_until_cancelled);
    TEST(two_runtimes_and_a_thread);
    return test_end();
}
