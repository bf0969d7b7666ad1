// select, join_all, try_join, timeout: alone, in one another, cancelled from outside at
// every moment.
//
// The heart is a reference model. A subject task awaits an expression whose arms are
// small coroutines behind gates; a driver task plays events (open gate k, make arm k
// fail or panic, let one cleanup go on, let time pass, abort) and after each event
// compares the state of every arm with that of a model of what the combinators promise.
// All nestings of two combinators are run with all event sequences up to a length, and
// random trees three levels deep with random sequences.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#include "by_hand.h"

#include <pthread.h>

#if defined(__SANITIZE_THREAD__)
enum { THIN = 7 };   // each seventh sequence
#else
enum { THIN = 1 };
#endif

static bool is_parked(crt_join_handle *h)
{
    return crt__sits_idle(crt__atomic_load(&((crt_task *)h)->state, CRT__ACQUIRE));
}

// ---------------------------------------------------------------------------
// arms: a body that waits for its gate, a cleanup that waits for its second gate

enum { A_FRESH, A_WAIT, A_CLEAN, A_DONE };   // where an arm is
typedef struct arm {
    crt_frame co;
    crt_notify gate, cleanup;
    int outcome;           // set by the driver: what it does when its gate opens
    bool cleanup_panics, panicked;
    int state, begun, cleaned, cut;   // counts: bodies begun, cleanups begun, cleanup awaits cut short
    int value;             // what it returns: its index, or a negative number
    crt_poll r;
} arm;
enum { O_VALUE, O_NEGATIVE, O_PANIC };
static crt_poll arm_run(void *frame, crt_cx *cx)
{
    arm *self = frame;
    CRT_BEGIN(self, cx);
    self->begun++;
    self->state = A_WAIT;
    CRT_AWAIT(self->r = crt_notified(cx, &self->gate));
    if (self->outcome == O_PANIC) {
        self->panicked = true;
        CRT_PANIC(cx, "arm %d", self->value);
    }
    CRT_RETURN(self->outcome == O_NEGATIVE ? -1000 - self->value : self->value);
    CRT_FINALLY
        self->cleaned++;
        self->state = A_CLEAN;
        CRT_AWAIT(self->r = crt_notified(cx, &self->cleanup));
        if (self->r == CRT_UNWIND) self->cut++;
        self->state = A_DONE;
        if (self->cleanup_panics) {
            self->panicked = true;
            CRT_PANIC(cx, "cleanup of arm %d", self->value);
        }
    CRT_END;
}

// ---------------------------------------------------------------------------
// the tree: what is awaited, for the subject and for the model

enum { SELECT, BIASED, JOIN_ALL, TRY_JOIN, TIMEOUT, OPS, LEAF = OPS };
enum { LEAVES = 9 };
typedef struct node {
    crt_frame co;
    int op, n;
    struct node *kid[3];
    int leaf;              // LEAF: which arm
    crt_duration d;        // TIMEOUT
    arm *arms;
    CRT_SELECT(3) sel;
    crt_timer timer;
    crt_poll r;
    int cleaned, begun;
    // the model
    int m_state;           // leaf: A_*; else 0 polling, 1 cancelling
    bool m_done, m_unwound;
    crt_poll m_result;
} node;

static crt_poll node_run(void *frame, crt_cx *cx);
static crt_poll kid_run(node *self, int i, crt_cx *cx)
{
    node *k = self->kid[i];
    return k->op == LEAF ? arm_run(&k->arms[k->leaf], cx) : node_run(k, cx);
}
// The body must not run on when something below it has panicked.
static int ran_on;
static bool panicked_below(const node *t)
{
    if (t->op == LEAF) return t->arms[t->leaf].panicked;
    for (int i = 0; i < t->n; i++)
        if (panicked_below(t->kid[i])) return true;
    return false;
}
// Any tree as coroutines in coroutines.
static crt_poll node_run(void *frame, crt_cx *cx)
{
    node *self = frame;
    CRT_BEGIN(self, cx);
    self->begun++;
    if (self->op == SELECT)
        CRT_AWAIT(self->r = crt_select(cx, &self->sel,
            crt_on(cx, 0, kid_run(self, 0, cx)),
            crt_on_if(cx, 1, self->n > 1, kid_run(self, 1, cx)),
            crt_on_if(cx, 2, self->n > 2, kid_run(self, 2, cx))));
    else if (self->op == BIASED)
        CRT_AWAIT(self->r = crt_select_biased(cx, &self->sel,
            crt_on(cx, 0, kid_run(self, 0, cx)),
            crt_on_if(cx, 1, self->n > 1, kid_run(self, 1, cx)),
            crt_on_if(cx, 2, self->n > 2, kid_run(self, 2, cx))));
    else if (self->op == JOIN_ALL)
        CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
            crt_on(cx, 0, kid_run(self, 0, cx)),
            crt_on_if(cx, 1, self->n > 1, kid_run(self, 1, cx)),
            crt_on_if(cx, 2, self->n > 2, kid_run(self, 2, cx))));
    else if (self->op == TRY_JOIN)
        CRT_AWAIT(self->r = crt_try_join(cx, &self->sel,
            crt_on(cx, 0, kid_run(self, 0, cx)),
            crt_on_if(cx, 1, self->n > 1, kid_run(self, 1, cx)),
            crt_on_if(cx, 2, self->n > 2, kid_run(self, 2, cx))));
    else
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, self->d, kid_run(self, 0, cx)));
    ran_on += panicked_below(self);
    CRT_RETURN(self->r);
    CRT_FINALLY
        self->cleaned++;
    CRT_END;
}

// Two combinators as one expression, for every pair. The outer one's arms are the inner
// expression and leaf 2 (a time-out has only the inner one); the inner one's are leaves
// 0 and 1 (a time-out: 0).
#define X_SELECT(s, t, a, b) crt_select(cx, (s), crt_on(cx, 0, a), crt_on(cx, 1, b))
#define X_BIASED(s, t, a, b) crt_select_biased(cx, (s), crt_on(cx, 0, a), crt_on(cx, 1, b))
#define X_JOIN_ALL(s, t, a, b) crt_join_all(cx, (s), crt_on(cx, 0, a), crt_on(cx, 1, b))
#define X_TRY_JOIN(s, t, a, b) crt_try_join(cx, (s), crt_on(cx, 0, a), crt_on(cx, 1, b))
#define X_TIMEOUT(s, t, a, b) crt_timeout(cx, (t), (t) == &self->t2 ? self->root->d : self->root->kid[0]->d, a)
typedef struct pair {
    crt_frame co;
    node *root;
    CRT_SELECT(2) s1;
    CRT_SELECT(2) s2;
    crt_timer t1, t2;
    crt_poll r;
} pair;
#define ARM(i) arm_run(&self->root->arms[i], cx)
#define PAIR(OUTER, INNER)                                                                 \
    static crt_poll pair_##OUTER##_##INNER(void *frame, crt_cx *cx)                        \
    {                                                                                      \
        pair *self = frame;                                                                \
        CRT_BEGIN(self, cx);                                                               \
        CRT_AWAIT(self->r = X_##OUTER(&self->s2, &self->t2,                                \
                                      X_##INNER(&self->s1, &self->t1, ARM(0), ARM(1)), ARM(2))); \
        ran_on += panicked_below(self->root);                                              \
        CRT_RETURN(self->r);                                                               \
        CRT_END;                                                                           \
    }
#define PAIRS(OUTER) \
    PAIR(OUTER, SELECT) PAIR(OUTER, BIASED) PAIR(OUTER, JOIN_ALL) PAIR(OUTER, TRY_JOIN) PAIR(OUTER, TIMEOUT)
PAIRS(SELECT) PAIRS(BIASED) PAIRS(JOIN_ALL) PAIRS(TRY_JOIN) PAIRS(TIMEOUT)
#define ROW(OUTER)                                                                         \
    {pair_##OUTER##_SELECT, pair_##OUTER##_BIASED, pair_##OUTER##_JOIN_ALL,                \
     pair_##OUTER##_TRY_JOIN, pair_##OUTER##_TIMEOUT}
static const crt_fn pairs[OPS][OPS] = {ROW(SELECT), ROW(BIASED), ROW(JOIN_ALL), ROW(TRY_JOIN), ROW(TIMEOUT)};

// ---------------------------------------------------------------------------
// the model

static bool m_panicked;
static void m_unwind(node *t);
static void m_settle(node *t)
{
    if (t->op == LEAF || t->m_done) return;
    bool all = true;
    for (int i = 0; i < t->n; i++) m_settle(t->kid[i]);
    for (int i = 0; i < t->n && t->m_state == 0; i++) {
        node *k = t->kid[i];
        if (!k->m_done) continue;
        bool ends = k->m_result == CRT_UNWIND || t->op <= BIASED || (t->op == TRY_JOIN && k->m_result < 0) ||
                    t->op == TIMEOUT;
        if (!ends) continue;
        t->m_state = 1;
        t->m_result = k->m_result == CRT_UNWIND || t->op > BIASED ? k->m_result : i;
        for (int j = 0; j < t->n; j++)
            if (!t->kid[j]->m_done) m_unwind(t->kid[j]);
    }
    for (int i = 0; i < t->n; i++) {
        m_settle(t->kid[i]);
        all = all && t->kid[i]->m_done;
    }
    if (all) {
        t->m_done = true;
        if (t->m_state == 0) t->m_result = 0;   // join_all, try_join
    }
}
// One unwind: at most once for each arm; one that comes later is only remembered.
static void m_unwind(node *t)
{
    if (t->m_done) return;
    if (t->op == LEAF) {
        if (t->m_state == A_WAIT) t->m_state = A_CLEAN;
        else if (!t->m_unwound) t->m_state = A_DONE, t->m_done = true;   // its one await is cut
        t->m_unwound = true;
        t->m_result = CRT_UNWIND;
        return;
    }
    bool first = t->m_state == 0;
    t->m_state = 1;
    t->m_result = CRT_UNWIND;
    for (int i = 0; first && i < t->n; i++) m_unwind(t->kid[i]);
    m_settle(t);
}
static node *m_leaf(node *t, int leaf)
{
    if (t->op == LEAF) return t->leaf == leaf ? t : NULL;
    node *found = NULL;
    for (int i = 0; i < t->n && !found; i++) found = m_leaf(t->kid[i], leaf);
    return found;
}
// Time-outs that are due. The innermost comes first: an expression is polled before the
// clock, so one that ends by its own time-out at the same moment still counts.
static void m_pass(node *t, crt_duration now)
{
    if (t->op == LEAF || t->m_done) return;
    for (int i = 0; i < t->n; i++) m_pass(t->kid[i], now);
    m_settle(t);
    if (t->op == TIMEOUT && t->m_state == 0 && now >= t->d) {
        t->m_state = 1;
        t->m_result = CRT_ETIMEDOUT;
        m_unwind(t->kid[0]);
        m_settle(t);
    }
}
static void m_reset(node *t)
{
    t->m_done = t->m_unwound = false;
    t->m_state = t->op == LEAF ? A_WAIT : 0;
    t->m_result = 0;
    for (int i = 0; t->op != LEAF && i < t->n; i++) m_reset(t->kid[i]);
}

// ---------------------------------------------------------------------------
// the driver. Events: 0-8 open gate k; with +10 the arm gives a negative value, +20 it
// panics; 30 the first cleanup goes on; 31 it panics; 32 time passes; 33 abort.

enum { E_NEG = 10, E_PANIC = 20, E_CLEAN = 30, E_CLEAN_PANIC, E_TIME, E_ABORTED };
enum { SCRIPT = 12, TICK_MS = 10 };
typedef struct play {
    crt_frame co;
    node *root;
    arm *arms;
    int leaves;
    bool timed;           // the virtual clock is there
    const int *script;
    int length, i, drained;
    crt_fn fn;            // the expression, or NULL: node_run over the tree
    crt_join_handle *join;
    intptr_t result;
    int code;
    bool aborted, bad;
    crt_duration now;
} play;

static void describe(play *p, const char *what)
{
    fprintf(stderr, "%s: %s: outer %d inner %d direct %d, step %d of script", test__name, what, p->root->op,
            p->root->kid[0]->op, p->fn != NULL, p->i);
    for (int i = 0; i < p->length; i++) fprintf(stderr, " %d", p->script[i]);
    fprintf(stderr, "\n   arms (model):");
    for (int i = 0; i < p->leaves; i++) {
        node *m = m_leaf(p->root, i);
        if (m) fprintf(stderr, " %d(%d)", p->arms[i].state, m->m_state);
    }
    fprintf(stderr, "\n");
    p->bad = true;
    __atomic_fetch_add(&test__bad, 1, __ATOMIC_SEQ_CST);
}
static int first_cleaning(play *p)
{
    for (int i = 0; i < p->leaves; i++)
        if (p->arms[i].state == A_CLEAN) return i;
    return -1;
}
// Applies one event to the subject and to the model. The subject is parked.
static void apply(play *p, int e)
{
    int k = e % 10;
    if (e < E_CLEAN) {
        node *m = k < p->leaves ? m_leaf(p->root, k) : NULL;
        if (!m || p->arms[k].state != A_WAIT) return;
        p->arms[k].outcome = e / 10;
        crt_notify_one(&p->arms[k].gate);
        m->m_state = A_CLEAN;
        m->m_result = e >= E_PANIC ? CRT_UNWIND : e >= E_NEG ? -1000 - k : k;
        if (e >= E_PANIC) m_panicked = true;
    } else if (e == E_CLEAN || e == E_CLEAN_PANIC) {
        k = first_cleaning(p);
        if (k < 0) return;
        p->arms[k].cleanup_panics = e == E_CLEAN_PANIC;
        crt_notify_one(&p->arms[k].cleanup);
        node *m = m_leaf(p->root, k);
        m->m_state = A_DONE;
        m->m_done = true;
        if (e == E_CLEAN_PANIC) m_panicked = true;
        m_settle(p->root);
    } else if (e == E_TIME && p->timed) {
        p->now += CRT_MS(TICK_MS);
        m_pass(p->root, p->now);
        m_settle(p->root);
    } else if (e == E_ABORTED && !p->aborted) {
        p->aborted = true;
        crt_abort(p->join);
        m_unwind(p->root);
        m_settle(p->root);
    }
}
static void compare(play *p)
{
    if (m_panicked || p->bad) return;   // after a panic only the end is promised
    for (int i = 0; i < p->leaves; i++) {
        node *m = m_leaf(p->root, i);
        if (m && p->arms[i].state != m->m_state) {
            describe(p, "an arm is not where the model says");
            return;
        }
    }
    if (crt_is_finished(p->join) != p->root->m_done) describe(p, "finished or not");
}
static crt_poll play_run(void *frame, crt_cx *cx)
{
    play *self = frame;
    CRT_BEGIN(self, cx);
    m_panicked = false;
    ran_on = 0;
    m_reset(self->root);
    if (self->fn) CHECK_EQ(crt_spawn_join(cx, &self->join, self->fn, &(pair){.root = self->root}), 0);
    else {
        crt_task_desc d = {.fn = node_run, .frame = self->root, .size = sizeof *self->root, .join = &self->join};
        CHECK_EQ(crt_spawn_ex(cx, &d), 0);
    }
    while (!is_parked(self->join)) CRT_YIELD();
    compare(self);
    for (self->i = 0; self->i < self->length && !crt_is_finished(self->join); self->i++) {
        apply(self, self->script[self->i]);
        if (self->script[self->i] == E_TIME && self->timed) CHECK_EQ(crt_time_advance(cx->rt, CRT_MS(TICK_MS)), 0);
        CRT_YIELD();
        while (!crt_is_finished(self->join) && !is_parked(self->join)) CRT_YIELD();
        compare(self);
    }
    // Drain: let the cleanups go on; if nothing cleans up, abort.
    while (!crt_is_finished(self->join)) {
        if (self->drained++ > 40) {
            describe(self, "cannot be brought to an end");
            CRT_RETURN(1);
        }
        apply(self, first_cleaning(self) >= 0 ? E_CLEAN : E_ABORTED);
        CRT_YIELD();
        while (!crt_is_finished(self->join) && !is_parked(self->join)) CRT_YIELD();
        compare(self);
    }
    CRT_AWAIT(self->code = (int)crt_join(cx, &self->join, &self->result));
    crt_detach(&self->join);
    if (self->bad) CRT_RETURN(1);
    if (m_panicked) {
        if (self->code != CRT_EPANIC) describe(self, "the panic was swallowed");
        if (ran_on) describe(self, "the body ran on after a panic");
    } else if (self->root->m_result == CRT_UNWIND) {
        if (self->code != CRT_ECANCELED) describe(self, "should be cancelled");
    } else if (self->code != 0 || self->result != self->root->m_result) {
        describe(self, "wrong result");
        fprintf(stderr, "   code %d result %ld, not %ld\n", self->code, (long)self->result, (long)self->root->m_result);
    }
    for (int i = 0; i < self->leaves; i++) {
        arm *a = &self->arms[i];
        if (!m_leaf(self->root, i)) continue;
        if (a->begun != 1 || a->cleaned != 1 || a->cut > 1 || a->state != A_DONE || a->co.resume || a->gate.q.head ||
            a->cleanup.q.head)
            describe(self, "an arm was not cleaned up exactly once");
    }
    CRT_RETURN(self->bad);
    CRT_END;
}
static long plays;
static bool play_one(crt_runtime *rt, bool timed, node *root, arm *arms, int leaves, crt_fn fn, const int *script, int length)
{
    for (int i = 0; i < leaves; i++) arms[i] = (arm){.value = i};
    play p = {.root = root, .arms = arms, .leaves = leaves, .timed = timed, .fn = fn, .script = script, .length = length};
    plays++;
    return crt_block_on(rt, play_run, &p) == 0;
}

static void make_pair(node tree[5], arm *arms, int outer, int inner)
{
    memset(tree, 0, 5 * sizeof tree[0]);
    for (int i = 0; i < 5; i++) tree[i].arms = arms;
    tree[0].op = outer;
    tree[0].n = outer == TIMEOUT ? 1 : 2;
    tree[0].d = CRT_MS(2 * TICK_MS);   // the outer one after the inner one
    tree[0].kid[0] = &tree[1];
    tree[0].kid[1] = &tree[2];
    tree[1].op = inner;
    tree[1].n = inner == TIMEOUT ? 1 : 2;
    tree[1].d = CRT_MS(TICK_MS);
    tree[1].kid[0] = &tree[3];
    tree[1].kid[1] = &tree[4];
    for (int i = 2; i < 5; i++) tree[i].op = LEAF;
    tree[2].leaf = 2;
    tree[3].leaf = 0;
    tree[4].leaf = 1;
}
static const int alphabet[] = {0, 1, 2, E_NEG + 0, E_NEG + 2, E_PANIC + 0, E_PANIC + 2, E_CLEAN, E_CLEAN_PANIC, E_TIME, E_ABORTED};
enum { LETTERS = sizeof alphabet / sizeof alphabet[0] };
// Every event sequence of `length`, for every pair, as one expression and as coroutines.
// `step` takes each step-th sequence only.
static void all_pairs(crt_runtime *rt, bool timed, int length, int step)
{
    static arm arms[3];
    static node tree[5];
    int many = 1;
    for (int i = 0; i < length; i++) many *= LETTERS;
    for (int outer = 0; outer < OPS; outer++)
        for (int inner = 0; inner < OPS; inner++) {
            if (!timed && (outer == TIMEOUT || inner == TIMEOUT)) continue;   // no clock to turn
            for (int s = (outer * OPS + inner) % step; s < many; s += step) {
                int script[SCRIPT], code = s;
                bool panicked = false, skip = false;
                for (int i = 0; i < length; i++, code /= LETTERS) {
                    script[i] = alphabet[code % LETTERS];
                    if (panicked && script[i] < E_CLEAN) skip = true;
                    if ((script[i] >= E_PANIC && script[i] < E_CLEAN) || script[i] == E_CLEAN_PANIC) panicked = true;
                }
                if (skip) continue;
                for (int direct = 0; direct < 2; direct++) {
                    make_pair(tree, arms, outer, inner);
                    play_one(rt, timed, tree, arms, 3, direct ? pairs[outer][inner] : NULL, script, length);
                    if (test__bad > 8) return;
                }
            }
        }
}
static crt_runtime *virtual_runtime(uint64_t seed)
{
    crt_runtime *rt = NULL;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .start_paused = true, .seed = seed,
                                           .log.func = test_log}, &rt), 0);
    return rt;
}
static void every_pair_does_what_the_model_says(void)
{
    crt_runtime *rt = virtual_runtime(1);
    for (int length = 0; length <= 4; length++) all_pairs(rt, true, length, (length == 4 ? 5 : 1) * (length > 2 ? THIN : 1));
    all_pairs(rt, true, 6, 7919);
    crt_runtime_drop(&rt);
}
static void every_pair_does_so_on_each(crt_runtime *rt)
{
    for (int length = 0; length <= 3; length++) all_pairs(rt, false, length, length == 3 ? 13 * THIN : 1);
}

static uint64_t rng = 88172645463325252ull;
static int below(int n) { return (int)crt__random_below(&rng, (uint32_t)n); }
static unsigned deadlines;   // taken in this tree: two that pass at once would leave the winner to chance
static int make_tree(node *pool, int *used, int *leaves, arm *arms, int depth)
{
    int me = (*used)++;
    node *t = &pool[me];
    memset(t, 0, sizeof *t);
    t->arms = arms;
    if (depth == 0 || (depth < 3 && below(3) == 0) || *leaves >= LEAVES - 3) {
        t->op = LEAF;
        t->leaf = (*leaves)++;
        return me;
    }
    t->op = below(OPS);
    t->n = t->op == TIMEOUT ? 1 : 1 + below(3);
    int tick = 1 + below(4);
    while (t->op == TIMEOUT && deadlines & 1u << tick) tick++;
    if (t->op == TIMEOUT) deadlines |= 1u << tick;
    t->d = CRT_MS(TICK_MS) * tick;
    for (int i = 0; i < t->n; i++) {
        if (*leaves >= LEAVES) {
            t->n = i;
            break;
        }
        t->kid[i] = &pool[make_tree(pool, used, leaves, arms, depth - 1)];
    }
    return me;
}
static void random_trees(crt_runtime *rt, bool timed, int rounds)
{
    static arm arms[LEAVES];
    static node pool[64];
    for (int round = 0; round < rounds && test__bad < 8; round++) {
        int used = 0, leaves = 0, script[SCRIPT], length = 1 + below(SCRIPT);
        do deadlines = 0, used = leaves = 0, make_tree(pool, &used, &leaves, arms, 3);
        while (pool[0].op == LEAF);
        bool panicked = false;
        for (int i = 0; i < length; i++) {
            int what = below(16);
            if (what == 0) script[i] = E_ABORTED;
            else if (what == 1) script[i] = E_CLEAN_PANIC;
            else if (what <= 3) script[i] = E_TIME;
            else if (what <= 7 || panicked) script[i] = E_CLEAN;
            else script[i] = below(leaves) + (what == 8 ? E_PANIC : what <= 10 ? E_NEG : 0);
            if (what == 1 || (script[i] >= E_PANIC && script[i] < E_CLEAN)) panicked = true;
            if (!timed && script[i] == E_TIME) script[i] = E_CLEAN;
        }
        uint64_t was = rng;
        if (!play_one(rt, timed, pool, arms, leaves, NULL, script, length))
            fprintf(stderr, "   (round %d, rng %llu)\n", round, (unsigned long long)was);
    }
}
static void random_trees_do_what_the_model_says(void)
{
    crt_runtime *rt = virtual_runtime(2);
    random_trees(rt, true, 20000 / THIN);
    crt_runtime_drop(&rt);
}

// ---------------------------------------------------------------------------
// select: order, fairness, disabled arms

typedef struct fair {
    crt_frame co;
    int n, wins[5], i;
    bool biased;
    crt_poll w;
    CRT_SELECT(5) sel;
} fair;
static crt_poll ready(crt_cx *cx, crt_poll r)
{
    (void)cx;
    return r;
}
static crt_poll fair_run(void *frame, crt_cx *cx)
{
    fair *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 1000 * self->n; self->i++) {
        CRT_AWAIT(self->w = crt_select(cx, &self->sel,
            crt_on_if(cx, 0, self->n > 0, ready(cx, 0)),
            crt_on_if(cx, 1, self->n > 1, ready(cx, 0)),
            crt_on_if(cx, 2, self->n > 2, ready(cx, 0)),
            crt_on_if(cx, 3, self->n > 3, ready(cx, 0)),
            crt_on_if(cx, 4, self->n > 4, ready(cx, 0))));
        self->wins[self->w]++;
    }
    CRT_END;
}
static void select_starts_at_a_random_arm(crt_runtime *rt)
{
    fair f = {.n = 5};
    CHECK_EQ(crt_block_on(rt, fair_run, &f), 0);
    // 5000 draws, each arm expected 1000 times, standard deviation 28
    for (int i = 0; i < 5; i++) CHECK(f.wins[i] > 800 && f.wins[i] < 1200);
}
typedef struct order {
    crt_frame co;
    char seen[16];
    int n, i, conditions, ticks, evaluations, twice;
    uint64_t at[3];
    crt_poll w, r[4];
    crt_notify never;
    CRT_SELECT(4) sel;
    CRT_SELECT(1) one;
} order;
static crt_poll polled(order *self, int i, crt_poll r)
{
    self->seen[self->n++] = (char)('0' + i);
    return r;
}
// Pending; notes a second evaluation within one poll of the task. (An unwind is another.)
static crt_poll once_a_poll(order *self, int i, crt_cx *cx)
{
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    self->evaluations++;
    uint64_t poll = cx->worker->polls << 8 | cx->worker->index;   // the task may move between workers
    if (self->at[i] == poll) self->twice++;
    self->at[i] = poll;
    return CRT_PENDING;
}
static crt_poll ticks_four_times(order *self, crt_cx *cx)
{
    if (self->ticks++ == 4) return 0;
    crt_waker w = crt_waker_clone(cx);
    crt_wake(&w);
    return CRT_PENDING;
}
static bool counted(order *self, bool value)
{
    self->conditions++;
    return value;
}
static crt_poll order_run(void *frame, crt_cx *cx)
{
    order *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 50; self->i++) {
        memset(self->seen, 0, sizeof self->seen);
        self->n = 0;
        CRT_AWAIT(self->w = crt_select_biased(cx, &self->sel,
            crt_on(cx, 0, polled(self, 0, CRT_PENDING)),
            crt_on(cx, 1, polled(self, 1, CRT_PENDING)),
            crt_on(cx, 2, polled(self, 2, 5)),
            crt_on(cx, 3, polled(self, 3, 6))));
        CHECK_EQ(self->w, 2);
        CHECK(!strncmp(self->seen, "012", 3));
        CHECK(strchr(self->seen, '3') == NULL);   // what comes after the winner is not begun
    }
    // while nobody wins, each arm is evaluated once in each poll
    for (self->i = 0; self->i < 20; self->i++) {
        self->ticks = self->evaluations = 0;
        CRT_YIELD();   // the next select begins in a poll of its own
        CRT_AWAIT(self->w = crt_select(cx, &self->sel,
            crt_on(cx, 0, once_a_poll(self, 0, cx)),
            crt_on(cx, 1, once_a_poll(self, 1, cx)),
            crt_on(cx, 2, once_a_poll(self, 2, cx)),
            crt_on(cx, 3, ticks_four_times(self, cx))));
        CHECK_EQ(self->w, 3);
        CHECK(self->evaluations >= 12);
        CHECK_EQ(self->twice, 0);
    }
    // a disabled arm is not evaluated; its condition is looked at once
    self->n = self->conditions = 0;
    CRT_AWAIT(self->w = crt_select(cx, &self->sel,
        crt_on_if(cx, 0, counted(self, false), polled(self, 0, 0)),
        crt_on(cx, 1, self->r[1] = crt_yield_now(cx)),
        crt_on_if(cx, 2, false, polled(self, 2, 0)),
        crt_on(cx, 3, self->r[3] = crt_notified(cx, &self->never))));
    CHECK_EQ(self->w, 1);
    CHECK_EQ(self->n, 0);
    CHECK_EQ(self->r[1], 0);
    CHECK_EQ(self->r[3], CRT_UNWIND);   // what a losing arm assigns
    // no arm at all
    CRT_AWAIT(self->w = crt_select(cx, &self->sel,
        crt_on_if(cx, 0, false, polled(self, 0, 0)),
        crt_on_if(cx, 1, false, polled(self, 1, 0)),
        crt_on_if(cx, 2, false, polled(self, 2, 0)),
        crt_on_if(cx, 3, false, polled(self, 3, 0))));
    CHECK_EQ(self->w, CRT_EINVAL);
    CRT_AWAIT(self->w = crt_join_all(cx, &self->sel,
        crt_on_if(cx, 0, false, polled(self, 0, 0)),
        crt_on_if(cx, 1, false, polled(self, 1, 0)),
        crt_on_if(cx, 2, false, polled(self, 2, 0)),
        crt_on_if(cx, 3, false, polled(self, 3, 0))));
    CHECK_EQ(self->w, 0);   // nothing to wait for
    CHECK_EQ(self->n, 0);
    CHECK(!test_log_has("no arm is in crt_on"));
    // arms that are not in crt_on
    CRT_AWAIT(self->w = crt_select(cx, &self->sel, ready(cx, 1), ready(cx, 2)));
    CHECK_EQ(self->w, CRT_EINVAL);
    CHECK(test_log_has("no arm is in crt_on"));
    test_log_clear();
    CRT_AWAIT(self->w = crt_join_all(cx, &self->sel, ready(cx, 1), ready(cx, 2)));
    CHECK_EQ(self->w, CRT_EINVAL);
    CHECK(test_log_has("no arm is in crt_on"));
    for (self->i = 0, self->r[0] = 0; self->i < 200; self->i++) {   // others run meanwhile
        CRT_AWAIT((self->r[0]++, self->w = crt_try_join(cx, &self->sel, ready(cx, 1), ready(cx, 2))));
        CHECK_EQ(self->w, CRT_EINVAL);
    }
    CHECK(self->r[0] > 200);
    test_log_clear();
    // fewer arms than slots; an index that does not exist
    CRT_AWAIT(self->w = crt_select(cx, &self->sel, crt_on(cx, 3, ready(cx, 0))));
    CHECK_EQ(self->w, 3);
    CRT_AWAIT(self->w = crt_select(cx, &self->one, crt_on(cx, 1, ready(cx, 0))));
    CHECK_EQ(self->w, CRT_EINVAL);
    CRT_AWAIT(self->w = crt_select(cx, &self->one, crt_on(cx, -1, ready(cx, 0))));
    CHECK_EQ(self->w, CRT_EINVAL);
    CRT_AWAIT(self->w = crt_select(cx, &self->one, crt_on(cx, 0, ready(cx, 0))));
    CHECK_EQ(self->w, 0);
    // two arms with one index, which would wait for ever; what they wait for is let go
    CRT_AWAIT(self->w = crt_select(cx, &self->sel,
        crt_on(cx, 0, self->r[0] = crt_notified(cx, &self->never)),
        crt_on(cx, 2, self->r[1] = crt_notified(cx, &self->never)),
        crt_on(cx, 2, ready(cx, 0)),
        crt_on_if(cx, 3, false, ready(cx, 0))));
    CHECK_EQ(self->w, CRT_EINVAL);
    CHECK(self->never.q.head == NULL);
    CRT_AWAIT(self->w = crt_join_all(cx, &self->sel,
        crt_on(cx, 1, ready(cx, 0)),
        crt_on(cx, 1, ready(cx, 0))));
    CHECK_EQ(self->w, CRT_EINVAL);
    // a negative value still wins a select
    CRT_AWAIT(self->w = crt_select(cx, &self->one, crt_on(cx, 0, self->r[0] = ready(cx, CRT_ECLOSED))));
    CHECK_EQ(self->w, 0);
    CHECK_EQ(self->r[0], CRT_ECLOSED);
    CRT_AWAIT(self->w = crt_try_join(cx, &self->sel,
        crt_on(cx, 0, ready(cx, 4)),
        crt_on(cx, 1, self->r[1] = crt_notified(cx, &self->never)),
        crt_on(cx, 2, ready(cx, CRT_ECLOSED))));
    CHECK_EQ(self->w, CRT_ECLOSED);
    CHECK_EQ(self->r[1], CRT_UNWIND);
    CHECK(self->never.q.head == NULL);
    CRT_END;
}
static void order_conditions_and_indices(void)
{
    for (int i = 0; i < 2; i++) {
        crt_runtime *rt;
        order o = {.n = 0};
        crt_config c = {.flavor = i, .worker_threads = 1, .log.func = test_log};
        CHECK_EQ(crt_runtime_new(&c, &rt), 0);
        CHECK_EQ(crt_block_on(rt, order_run, &o), 0);
        crt_runtime_drop(&rt);
    }
}

// An arm may be any poll: a join, a hand-written one, one without a budget.
typedef struct kinds {
    crt_frame co;
    CRT_SELECT(3) sel;
    crt_join_handle *join;
    intptr_t result;
    crt_poll w, r;
    crt_notify never, go;
    int ignored;
} kinds;
static crt_poll ignores_unwind(kinds *self, crt_cx *cx)
{
    (void)cx;
    self->ignored++;
    return CRT_PENDING;
}
static crt_poll waits_run(void *frame, crt_cx *cx)
{
    struct waits { crt_frame co; crt_notify *go; } *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_notified(cx, self->go));
    CRT_RETURN(12);
    CRT_END;
}
typedef struct waits {
    crt_frame co;
    crt_notify *go;
} waits;
static crt_poll kinds_run(void *frame, crt_cx *cx)
{
    kinds *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_join(cx, &self->join, waits_run, &(waits){.go = &self->go}), 0);
    // a join that loses keeps its handle
    CRT_AWAIT(self->w = crt_select(cx, &self->sel,
        crt_on(cx, 0, crt_join(cx, &self->join, &self->result)),
        crt_on(cx, 1, crt_yield_now(cx))));
    CHECK_EQ(self->w, 1);
    CHECK(self->join != NULL);
    crt_notify_one(&self->go);
    CRT_AWAIT(self->w = crt_select(cx, &self->sel,
        crt_on(cx, 0, self->r = crt_join(cx, &self->join, &self->result)),
        crt_on(cx, 1, crt_notified(cx, &self->never))));
    CHECK_EQ(self->w, 0);
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->result, 12);
    CHECK(self->join == NULL);
    // a hand-written arm that takes no notice of the unwind is left behind
    CRT_AWAIT(self->w = crt_select(cx, &self->sel,
        crt_on(cx, 0, ignores_unwind(self, cx)),
        crt_on(cx, 1, crt_yield_now(cx)),
        crt_on(cx, 2, crt_unconstrained(cx, crt_notified(cx, &self->never)))));
    CHECK_EQ(self->w, 1);
    CHECK(self->ignored >= 2);
    CHECK(self->never.q.head == NULL);
    CRT_END;
}
static void arms_may_be_any_poll(crt_runtime *rt)
{
    kinds k = {.ignored = 0};
    CHECK_EQ(crt_block_on(rt, kinds_run, &k), 0);
}

// ---------------------------------------------------------------------------
// time: on the virtual clock

typedef struct timed {
    crt_frame co;
    crt_timer t1, t2;
    crt_instant begin;
    crt_poll r, w;
    int i;
    CRT_SELECT(8) sel;
    crt_notify never;
} timed;
#define ELAPSED_MS ((long)((crt_now(cx) - self->begin) / 1000000))
// Sleeps when it is cancelled: a slow goodbye.
typedef struct slow {
    crt_frame co;
    int ms, cleaned;
} slow;
static crt_poll slow_run(void *frame, crt_cx *cx)
{
    slow *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(3600)));
    CRT_FINALLY
        CRT_AWAIT(crt_sleep(cx, CRT_MS(self->ms)));
        self->cleaned++;
    CRT_END;
}
typedef struct timed_more {
    crt_frame co;
    slow s1, s2;
    crt_timer t1, t2;
    CRT_SELECT(2) sel;
    crt_poll r;
    crt_instant begin;
} timed_more;
static crt_poll deaf(crt_cx *cx) { return (void)cx, CRT_PENDING; }
// From outside, too: at its first poll, and later.
BODY(a_deaf_expression_is_left)
{
    POLLS;
    crt_timer t = {0};
    for (int i = 0; i < 2; i++) {
        if (i) CHECK_EQ(AT(s[0], crt_timeout(cx, &t, CRT_SEC(9), deaf(cx))), PENDING);
        CHECK_EQ(CANCEL(s[0], crt_timeout(cx, &t, CRT_SEC(9), deaf(cx))), UNWIND);
        CHECK(!cx->unwind && !s[0].op && !t.slot.op && !cx->task->groups);
    }
}
// An arm that gives up by itself ends the select as a cancellation does; a poll whose worker was given away has a select too.
BODY(arms_that_give_up_and_polls_without_a_worker)
{
    POLLS;
    CRT_SELECT(2) sel = {0};
    crt_notify never = {0};
    crt__worker *keep = cx->worker;
    CHECK_EQ(AT(s[0], crt_select(cx, &sel, crt_on(cx, 0, (crt_poll)CRT_UNWIND), crt_on(cx, 1, crt_notified(cx, &never)))), UNWIND);
    CHECK(!never.q.head && !cx->task->groups);
    cx->worker = NULL;
    for (int i = 0; i < 20; i++) {
        (void)AT(s[0], crt_select(cx, &sel, crt_on(cx, 0, ready(cx, 0)), crt_on(cx, 1, ready(cx, 0))));
        CHECK(got == 0 || got == 1);
    }
    cx->worker = keep;
}
static crt_poll timed_run(void *frame, crt_cx *cx)
{
    timed *self = frame;
    CRT_BEGIN(self, cx);
    self->begin = crt_now(cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t1, CRT_MS(50), crt_sleep(cx, CRT_MS(20))));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(ELAPSED_MS, 20);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t1, CRT_MS(50), crt_sleep(cx, CRT_MS(90))));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(ELAPSED_MS, 70);
    // what is ready wins over a time-out that is already over
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t1, 0, ready(cx, 8)));
    CHECK_EQ(self->r, 8);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t1, CRT_MS(-5), ready(cx, 9)));
    CHECK_EQ(self->r, 9);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t1, 0, crt_notified(cx, &self->never)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(ELAPSED_MS, 70);
    CHECK(self->never.q.head == NULL);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t1, CRT_FOREVER, crt_sleep(cx, CRT_MS(5))));
    CHECK_EQ(self->r, 0);
    CRT_AWAIT(self->r = crt_timeout_at(cx, &self->t1, self->begin + CRT_MS(100), crt_sleep(cx, CRT_SEC(5))));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(ELAPSED_MS, 100);
    CRT_AWAIT(self->r = crt_timeout_at(cx, &self->t1, self->begin, crt_sleep(cx, CRT_SEC(5))));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);   // a moment in the past
    CHECK_EQ(ELAPSED_MS, 100);
    // an expression that takes no notice of its cancellation is left
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t1, 0, deaf(cx)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK(!cx->unwind && ELAPSED_MS == 100);
    // the shorter of two wins, whichever is outside
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t1, CRT_MS(10), crt_timeout(cx, &self->t2, CRT_MS(20), crt_notified(cx, &self->never))));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(ELAPSED_MS, 110);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t1, CRT_MS(20), crt_timeout(cx, &self->t2, CRT_MS(10), crt_notified(cx, &self->never))));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(ELAPSED_MS, 120);
    // join_all takes as long as the longest, select as the shortest
    CRT_AWAIT(self->w = crt_join_all(cx, &self->sel,
        crt_on(cx, 0, crt_sleep(cx, CRT_MS(1))), crt_on(cx, 1, crt_sleep(cx, CRT_MS(40))),
        crt_on(cx, 2, crt_sleep(cx, CRT_MS(3))), crt_on(cx, 3, crt_sleep(cx, CRT_MS(30))),
        crt_on(cx, 4, crt_sleep(cx, CRT_MS(5))), crt_on(cx, 5, crt_sleep(cx, CRT_MS(20))),
        crt_on(cx, 6, crt_sleep(cx, CRT_MS(7))), crt_on(cx, 7, crt_sleep(cx, CRT_MS(8)))));
    CHECK_EQ(self->w, 0);
    CHECK_EQ(ELAPSED_MS, 160);
    CRT_AWAIT(self->w = crt_select(cx, &self->sel,
        crt_on(cx, 0, crt_sleep(cx, CRT_MS(9))), crt_on(cx, 1, crt_sleep(cx, CRT_MS(40))),
        crt_on(cx, 2, crt_sleep(cx, CRT_MS(8))), crt_on(cx, 3, crt_sleep(cx, CRT_MS(30))),
        crt_on(cx, 4, crt_sleep(cx, CRT_MS(10))), crt_on(cx, 5, crt_sleep(cx, CRT_MS(20)))));
    CHECK_EQ(self->w, 2);
    CHECK_EQ(ELAPSED_MS, 168);
    // a slot and a timer used again and again leave nothing behind
    for (self->i = 0; self->i < 200; self->i++) {
        CRT_AWAIT(self->w = crt_select(cx, &self->sel,
            crt_on(cx, 0, crt_timeout(cx, &self->t1, CRT_MS(1), crt_notified(cx, &self->never))),
            crt_on(cx, 1, crt_timeout(cx, &self->t2, CRT_MS(2), crt_sleep(cx, CRT_MS(3))))));
        CHECK_EQ(self->w, 0);
    }
    CHECK_EQ(ELAPSED_MS, 368);
    // equal deadlines, one in the other
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t1, CRT_MS(5), crt_timeout(cx, &self->t2, CRT_MS(5), crt_notified(cx, &self->never))));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(ELAPSED_MS, 373);
    CHECK(cx->task->groups == NULL);   // nothing is left in the task's list
    CRT_END;
}
static crt_poll timed_more_run(void *frame, crt_cx *cx)
{
    timed_more *self = frame;
    CRT_BEGIN(self, cx);
    // the loser says goodbye before the time-out or the select returns
    self->begin = crt_now(cx);
    self->s1.ms = 30;
    self->s2.ms = 50;
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t1, CRT_MS(10), slow_run(&self->s1, cx)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(self->s1.cleaned, 1);
    CHECK_EQ(ELAPSED_MS, 40);
    // the time-out of a goodbye counts from its own beginning; it cuts one await short
    CRT_AWAIT(self->r = crt_select(cx, &self->sel,
        crt_on(cx, 0, slow_run(&self->s1, cx)),
        crt_on(cx, 1, crt_sleep(cx, CRT_MS(10)))));
    CHECK_EQ(self->r, 1);
    CHECK_EQ(self->s1.cleaned, 2);
    CHECK_EQ(ELAPSED_MS, 80);
    // nested: the outer time-out passes while the inner one's loser says goodbye; the
    // unwind it brings is not delivered twice, the goodbye is not cut short
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t1, CRT_MS(20), crt_timeout(cx, &self->t2, CRT_MS(10), slow_run(&self->s2, cx))));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(self->s2.cleaned, 1);
    CHECK_EQ(ELAPSED_MS, 140);
    // losers say goodbye at the same time, not one after the other
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t1, CRT_MS(10), crt_join_all(cx, &self->sel,
        crt_on(cx, 0, slow_run(&self->s1, cx)),
        crt_on(cx, 1, slow_run(&self->s2, cx)))));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK_EQ(ELAPSED_MS, 200);
    CRT_END;
}
static void timeouts_on_the_virtual_clock(void)
{
    crt_runtime *rt = virtual_runtime(3);
    timed t = {.i = 0};
    timed_more m = {.r = 0};
    CHECK_EQ(crt_block_on(rt, timed_run, &t), 0);
    CHECK_EQ(crt_block_on(rt, timed_more_run, &m), 0);
    crt_runtime_drop(&rt);
}
// A busy expression that never parks must not hide the clock.
typedef struct hog {
    crt_frame co;
    long n;
} hog;
static crt_poll hog_run(void *frame, crt_cx *cx)
{
    hog *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(crt_consume_budget(cx));
        self->n++;
    }
    CRT_END;
}
typedef struct hogs {
    crt_frame co;
    hog h;
    crt_timer t;
    CRT_SELECT(2) sel;
    crt_poll r;
} hogs;
static crt_poll hogs_run(void *frame, crt_cx *cx)
{
    hogs *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t, CRT_MS(5), hog_run(&self->h, cx)));
    CHECK_EQ(self->r, CRT_ETIMEDOUT);
    CHECK(self->h.n >= 128);
    CRT_AWAIT(self->r = crt_select(cx, &self->sel,   // random: sometimes the clock has budget left
        crt_on(cx, 0, hog_run(&self->h, cx)),
        crt_on(cx, 1, crt_sleep(cx, CRT_MS(5)))));
    CHECK_EQ(self->r, 1);
    CRT_END;
}
static void a_busy_expression_does_not_hide_the_clock(crt_runtime *rt)
{
    hogs h = {.r = 0};
    CHECK_EQ(crt_block_on(rt, hogs_run, &h), 0);
}
static crt_poll no_clock_run(void *frame, crt_cx *cx)
{
    hogs *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->t, CRT_MS(5), crt_yield_now(cx)));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    CRT_END;
}
static void a_timeout_without_the_time_driver_says_so(void)
{
    crt_runtime *rt;
    hogs h = {.r = 0};
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .drivers = CRT_DRIVER_IO, .log.func = test_log}, &rt), 0);
    CHECK_EQ(crt_block_on(rt, no_clock_run, &h), 0);
    crt_runtime_drop(&rt);
}

// ---------------------------------------------------------------------------
// panics

typedef struct late {   // panics or returns after n yields; says goodbye with a select
    crt_frame co;
    int yields, panics, i, value;
    crt_poll w, r;
    CRT_SELECT(2) sel;
    crt_timer timer;
    crt_notify never;
    int *goodbyes;
} late;
static crt_poll late_run(void *frame, crt_cx *cx)
{
    late *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->yields; self->i++) CRT_YIELD();
    if (self->panics) CRT_PANIC(cx, "late");
    CRT_RETURN(self->value);
    CRT_FINALLY
        // The cleanup is ordinary code: combinators give what they always give.
        CRT_AWAIT(self->w = crt_select(cx, &self->sel,
            crt_on(cx, 0, crt_notified(cx, &self->never)),
            crt_on(cx, 1, crt_yield_now(cx))));
        CHECK_EQ(self->w, 1);
        self->i = 0;
        CRT_AWAIT(self->w = crt_join_all(cx, &self->sel,
            crt_on(cx, 0, crt_yield_now(cx)),
            crt_on(cx, 1, (self->i++, ready(cx, 0)))));
        CHECK_EQ(self->w, 0);
        CRT_AWAIT(self->w = crt_try_join(cx, &self->sel,
            crt_on(cx, 0, ready(cx, 3)),
            crt_on(cx, 1, self->r = crt_yield_now(cx))));
        CHECK_EQ(self->w, 0);
        CHECK_EQ(self->r, 0);
        CRT_AWAIT(self->w = crt_timeout(cx, &self->timer, CRT_MS(2), crt_notified(cx, &self->never)));
        CHECK_EQ(self->w, CRT_ETIMEDOUT);
        CRT_AWAIT(self->w = crt_timeout(cx, &self->timer, CRT_SEC(100), crt_sleep(cx, CRT_MS(1))));
        CHECK_EQ(self->w, 0);
        ++*self->goodbyes;
    CRT_END;
}
typedef struct spawns_late {
    crt_frame co;
    late child;
    crt_join_handle *join;
    int goodbyes, panics, abort;
    intptr_t result;
    crt_poll r;
} spawns_late;
static crt_poll spawns_late_run(void *frame, crt_cx *cx)
{
    spawns_late *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_join(cx, &self->join, late_run, &(late){.yields = self->abort ? 1 << 30 : 2, .panics = self->panics,
                            .value = 4, .goodbyes = &self->goodbyes}), 0);
    CRT_YIELD();
    if (self->abort) crt_abort(self->join);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    crt_detach(&self->join);
    CRT_RETURN(self->r ? self->r : self->result);
    CRT_END;
}
static void combinators_work_in_the_cleanup(crt_runtime *rt)
{
    spawns_late s = {.goodbyes = 0};
    CHECK_EQ(crt_block_on(rt, spawns_late_run, &s), 4);
    s.abort = 1;
    CHECK_EQ(crt_block_on(rt, spawns_late_run, &s), CRT_ECANCELED);
    CHECK_EQ(s.goodbyes, 2);
}
static void combinators_work_in_the_cleanup_after_a_panic(crt_runtime *rt)
{
    spawns_late s = {.panics = 1};
    CHECK_EQ(crt_block_on(rt, spawns_late_run, &s), CRT_EPANIC);
    CHECK_EQ(s.goodbyes, 1);
}
// One arm panics: the siblings run their cleanups, whole, and the panic comes out.
typedef struct panics {
    crt_frame co;
    late arms[3];
    CRT_SELECT(3) sel;
    crt_poll w;
    int goodbyes, after, mode, i;
} panics;
static crt_poll panics_run(void *frame, crt_cx *cx)
{
    panics *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 3; self->i++)
        self->arms[self->i] = (late){.yields = self->i == 1 ? 2 : 1 << 30, .panics = self->i == 1, .goodbyes = &self->goodbyes};
    if (self->mode == SELECT)
        CRT_AWAIT(self->w = crt_select(cx, &self->sel, crt_on(cx, 0, late_run(&self->arms[0], cx)),
                  crt_on(cx, 1, late_run(&self->arms[1], cx)), crt_on(cx, 2, late_run(&self->arms[2], cx))));
    else if (self->mode == JOIN_ALL)
        CRT_AWAIT(self->w = crt_join_all(cx, &self->sel, crt_on(cx, 0, late_run(&self->arms[0], cx)),
                  crt_on(cx, 1, late_run(&self->arms[1], cx)), crt_on(cx, 2, late_run(&self->arms[2], cx))));
    else
        CRT_AWAIT(self->w = crt_try_join(cx, &self->sel, crt_on(cx, 0, late_run(&self->arms[0], cx)),
                  crt_on(cx, 1, late_run(&self->arms[1], cx)), crt_on(cx, 2, late_run(&self->arms[2], cx))));
    self->after++;
    CRT_FINALLY
        CHECK_EQ(self->goodbyes, 3);   // children before the parent
    CRT_END;
}
static void a_panicking_arm_cancels_its_siblings(crt_runtime *rt)
{
    static const int modes[] = {SELECT, JOIN_ALL, TRY_JOIN};
    for (int i = 0; i < 3; i++) {
        panics p = {.mode = modes[i]};
        CHECK_EQ(crt_block_on(rt, panics_run, &p), CRT_EPANIC);
        CHECK_EQ(p.after, 0);
        CHECK_EQ(p.goodbyes, 3);
    }
}

// A loser's cleanup panics in one poll and ends in a later one: still a panic.
typedef struct bad_cleanup {
    crt_frame co;
    late child;
    int goodbyes;
} bad_cleanup;
static crt_poll panics_at_once(void *frame, crt_cx *cx)
{
    bad_cleanup *self = frame;
    CRT_BEGIN(self, cx);
    CRT_PANIC(cx, "in the cleanup of a loser");
    CRT_END;
}
static crt_poll bad_cleanup_run(void *frame, crt_cx *cx)
{
    bad_cleanup *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(1000)));
    CRT_FINALLY
        CRT_AWAIT(panics_at_once(&self->child, cx));
        CRT_YIELD();
        CRT_YIELD();
        self->goodbyes++;
    CRT_END;
}
typedef struct early_panic {
    crt_frame co;
    bad_cleanup bad;
    CRT_SELECT(2) sel;
    crt_timer timer;
    crt_poll w;
    int mode, after;
} early_panic;
static crt_poll early_panic_run(void *frame, crt_cx *cx)
{
    early_panic *self = frame;
    CRT_BEGIN(self, cx);
    if (self->mode == SELECT)
        CRT_AWAIT(self->w = crt_select(cx, &self->sel,
            crt_on(cx, 0, bad_cleanup_run(&self->bad, cx)), crt_on(cx, 1, crt_yield_now(cx))));
    else if (self->mode == TRY_JOIN)
        CRT_AWAIT(self->w = crt_try_join(cx, &self->sel,
            crt_on(cx, 0, bad_cleanup_run(&self->bad, cx)), crt_on(cx, 1, ready(cx, -1))));
    else
        CRT_AWAIT(self->w = crt_timeout(cx, &self->timer, CRT_MS(1), bad_cleanup_run(&self->bad, cx)));
    self->after++;
    CRT_END;
}
static void a_panic_early_in_a_losers_cleanup_comes_out(crt_runtime *rt)
{
    static const int modes[] = {SELECT, TRY_JOIN, TIMEOUT};
    for (int i = 0; i < 3; i++) {
        early_panic e = {.mode = modes[i]};
        CHECK_EQ(crt_block_on(rt, early_panic_run, &e), CRT_EPANIC);
        CHECK_EQ(e.bad.goodbyes, 1);
        CHECK_EQ(e.after, 0);
    }
}

// ---------------------------------------------------------------------------
// what was granted to a leaf that is then cancelled is passed on

enum { G_NOTIFY, G_SEMAPHORE, G_MUTEX, G_NOTIFY_LAST, G_KINDS };
enum { H_SELECT, H_ABORT, H_TIMEOUT, H_HOWS };
typedef struct grants {
    crt_notify n, go;
    crt_semaphore s;
    crt_mutex m;
    int kind, how, owners;   // owners: atomic
} grants;
static crt_poll want(grants *g, crt_cx *cx)
{
    if (g->kind == G_SEMAPHORE) return crt_semaphore_acquire(cx, &g->s, 2);
    if (g->kind == G_MUTEX) return crt_mutex_lock(cx, &g->m);
    return crt_notified(cx, &g->n);
}
static void grant(grants *g)
{
    if (g->kind == G_SEMAPHORE) crt_semaphore_release(&g->s, 2);
    else if (g->kind == G_MUTEX) crt_mutex_unlock(&g->m);
    else if (g->kind == G_NOTIFY) crt_notify_one(&g->n);
    else crt_notify_last(&g->n);
}
typedef struct wanter {
    crt_frame co;
    grants *g;
    bool simple;
    CRT_SELECT(2) sel;
    crt_timer timer;
    crt_poll w;
} wanter;
static crt_poll wanter_run(void *frame, crt_cx *cx)
{
    wanter *self = frame;
    CRT_BEGIN(self, cx);
    if (self->simple || self->g->how == H_ABORT) {
        CRT_AWAIT(want(self->g, cx));
        self->w = 1;
    } else if (self->g->how == H_SELECT) {
        CRT_AWAIT(self->w = crt_select_biased(cx, &self->sel,
            crt_on(cx, 0, crt_notified(cx, &self->g->go)),
            crt_on(cx, 1, want(self->g, cx))));
    } else {
        CRT_AWAIT(self->w = crt_timeout(cx, &self->timer, CRT_MS(3), want(self->g, cx)));
        self->w = self->w == 0;
    }
    if (self->w == 1) __atomic_fetch_add(&self->g->owners, 1, __ATOMIC_SEQ_CST);
    if (self->w == 1) grant(self->g);   // hands it on
    CRT_RETURN(self->w);
    CRT_END;
}
typedef struct granting {
    crt_frame co;
    grants g;
    crt_join_handle *a, *b;
    intptr_t result;
    crt_poll r;
} granting;
static crt_poll granting_run(void *frame, crt_cx *cx)
{
    granting *self = frame;
    CRT_BEGIN(self, cx);
    crt_semaphore_init(&self->g.s, 0);
    CHECK_EQ(crt_mutex_try_lock(&self->g.m), 0);
    // The one that will be cancelled is granted first: it is at that end of the queue. (On a
    // slow machine its time-out may pass before we see it parked; the other must get it then.)
    if (self->g.kind == G_NOTIFY_LAST) {
        CHECK_EQ(crt_spawn_join(cx, &self->b, wanter_run, &(wanter){.g = &self->g, .simple = true}), 0);
        while (!is_parked(self->b)) CRT_YIELD();
        CHECK_EQ(crt_spawn_join(cx, &self->a, wanter_run, &(wanter){.g = &self->g}), 0);
        while (!is_parked(self->a) && !crt_is_finished(self->a)) CRT_YIELD();
    } else {
        CHECK_EQ(crt_spawn_join(cx, &self->a, wanter_run, &(wanter){.g = &self->g}), 0);
        while (!is_parked(self->a) && !crt_is_finished(self->a)) CRT_YIELD();
        CHECK_EQ(crt_spawn_join(cx, &self->b, wanter_run, &(wanter){.g = &self->g, .simple = true}), 0);
        while (!is_parked(self->b)) CRT_YIELD();
    }
    if (self->g.how == H_TIMEOUT && crt_runtime_config(cx->rt)->start_paused) {
        // grant and deadline in one go, before the task is polled
        CHECK_EQ(crt_time_advance(cx->rt, CRT_MS(10)), 0);
        grant(&self->g);
    } else if (self->g.how == H_TIMEOUT) {
        CRT_AWAIT(crt_sleep(cx, CRT_MS(3)));
        grant(&self->g);
    } else {
        grant(&self->g);
        if (self->g.how == H_ABORT) crt_abort(self->a);
        else crt_notify_one(&self->g.go);
    }
    // The second must get it, whether the first was cancelled or passed it on itself.
    CRT_AWAIT(self->r = crt_join(cx, &self->b, &self->result));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(self->result, 1);
    CRT_AWAIT(self->r = crt_join(cx, &self->a, &self->result));
    if (self->g.how == H_ABORT && !crt__is_multi(cx->rt)) CHECK_EQ(self->r, CRT_ECANCELED);
    if (self->g.how == H_SELECT && !crt__is_multi(cx->rt)) CHECK_EQ(self->result, 0);
    // Nothing was lost or made on the way.
    if (self->g.kind == G_SEMAPHORE) CHECK_EQ(crt_semaphore_available(&self->g.s), 2);
    if (self->g.kind == G_MUTEX) CHECK_EQ(crt_mutex_try_lock(&self->g.m), 0);
    CHECK(self->g.n.q.head == NULL && self->g.s.p.q.head == NULL && self->g.m.q.head == NULL);
    CRT_END;
}
static void grants_of_the_cancelled(crt_runtime *rt, int rounds)
{
    for (int i = 0; i < rounds; i++)
        for (int kind = 0; kind < G_KINDS; kind++)
            for (int how = 0; how < H_HOWS; how++) {
                granting g = {.g.kind = kind, .g.how = how};
                crt_poll r = crt_block_on(rt, granting_run, &g);
                if (r) fprintf(stderr, "kind %d how %d\n", kind, how);
                CHECK_EQ(r, 0);
            }
}
static void grants_of_the_cancelled_are_passed_on(crt_runtime *rt) { grants_of_the_cancelled(rt, 10); }
static void grants_at_the_deadline_are_passed_on(void)
{
    crt_runtime *rt = virtual_runtime(4);
    grants_of_the_cancelled(rt, 10);
    crt_runtime_drop(&rt);
}

// ---------------------------------------------------------------------------
// a task that is freed while it is parked in combinators leaves nothing dangling

typedef struct stubborn {
    crt_frame co;
    CRT_SELECT(3) sel;
    CRT_SELECT(2) inner;
    crt_timer timer;
    crt_notify *n;
    crt_semaphore *s;
} stubborn;
static crt_poll stubborn_run(void *frame, crt_cx *cx)
{
    stubborn *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_notified(cx, self->n));
    CRT_FINALLY
        // refuses to end: only the deadline of the shutdown gets rid of it
        CRT_AWAIT(crt_select(cx, &self->sel,
            crt_on(cx, 0, crt_notified(cx, self->n)),
            crt_on(cx, 1, crt_timeout(cx, &self->timer, CRT_SEC(1000), crt_semaphore_acquire(cx, self->s, 1))),
            crt_on(cx, 2, crt_join_all(cx, &self->inner,
                crt_on(cx, 0, crt_sleep(cx, CRT_SEC(500))),
                crt_on(cx, 1, crt_notified(cx, self->n))))));
    CRT_END;
}
static void a_freed_task_is_unlinked_from_everything(void)
{
    for (int flavor = 0; flavor < 2; flavor++) {
        crt_runtime *rt;
        crt_notify n = {.q = {.extra = 0}};
        crt_semaphore s;
        crt_semaphore_init(&s, 0);
        test_log_clear();
        crt_config c = {.flavor = flavor, .worker_threads = 1, .log.func = test_log};
        CHECK_EQ(crt_runtime_new(&c, &rt), 0);
        crt_handle *h = crt_runtime_handle(rt);
        crt_join_handle *join;
        CHECK_EQ(crt_handle_spawn_join(h, &join, stubborn_run, &(stubborn){.n = &n, .s = &s}), 0);
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_MS(20)), 1);
        CHECK_EQ(crt_join_blocking(&join, NULL), CRT_ECANCELED);   // a worker that was put aside ends it later
        CHECK(n.q.head == NULL && n.q.tail == NULL);
        CHECK(s.p.q.head == NULL);
        CHECK(test_log_has("did not end in time"));
        CHECK(test_log_has("test_combine.c:"));
        crt_handle_drop(&h);
        crt_runtime_drop(&rt);
        crt_notify_waiters(&n);
        crt_semaphore_release(&s, 5);
        CHECK_EQ(crt_semaphore_available(&s), 5);
    }
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST(every_pair_does_what_the_model_says);
    TEST_ON_EACH(every_pair_does_so_on_each);
    TEST(random_trees_do_what_the_model_says);
    TEST_ON_EACH(select_starts_at_a_random_arm);
    TEST(order_conditions_and_indices);
    TEST_ON_EACH(arms_may_be_any_poll);
    TEST(timeouts_on_the_virtual_clock);
    TEST_ON_EACH(a_deaf_expression_is_left);
    TEST_ON_EACH(arms_that_give_up_and_polls_without_a_worker);
    TEST_ON_EACH(a_busy_expression_does_not_hide_the_clock);
    TEST(a_timeout_without_the_time_driver_says_so);
    TEST_ON_EACH(combinators_work_in_the_cleanup);
    TEST_ON_EACH_WITH(combinators_work_in_the_cleanup_after_a_panic, .log.func = test_log);
    TEST_ON_EACH_WITH(a_panicking_arm_cancels_its_siblings, .log.func = test_log);
    TEST_ON_EACH_WITH(a_panic_early_in_a_losers_cleanup_comes_out, .log.func = test_log);
    TEST_ON_EACH(grants_of_the_cancelled_are_passed_on);
    TEST(grants_at_the_deadline_are_passed_on);
    TEST(a_freed_task_is_unlinked_from_everything);
    if (argc > 2) fprintf(stderr, "%ld plays\n", plays);
    return test_end();
}
