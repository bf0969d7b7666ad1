// fuzz_combine.c: trees of select, join, try_join and time-outs of any shape over sleeps,
// yields, failures and things that never happen, each with a cleanup that may wait, one of
// them aborted from outside. Under the virtual clock the model is exact where it can be: a
// sleep ends at its tick, a join with its last, a time-out not before its time; whoever
// began runs its cleanup once, and before its parent goes on; a loser was not ready first.
#include "fuzz_crt.h"

enum { FX_NODES = 24, FX_ARMS = 3 };
enum { FX_SLEEP, FX_YIELD, FX_FAIL, FX_NEVER, FX_LEAVES, FX_SELECT = FX_LEAVES, FX_BIASED, FX_JOIN, FX_TRY, FX_TIMEOUT, FX_KINDS };
typedef struct fx_node {
    crt_frame co;
    int kind, children;
    struct fx_node *child[FX_ARMS];
    uint32_t id, d, cleanup, entered, finished, i;
    bool active, natural;
    int64_t start, end;
    CRT_SELECT(FX_ARMS) sel;
    crt_timer timer;
    crt_poll r[FX_ARMS], w;
} fx_node;
static fx_node fx_node_of[FX_NODES];
static int fx_count;
static crt_notify fx_never;
enum { FX_UNTOUCHED = 0x7777 };

static fx_node *fx_make(int depth)
{
    fx_node *n = &fx_node_of[fx_count];
    uint32_t byte = fuzz_byte();
    n->id = (uint32_t)fx_count++;
    n->kind = (int)(byte % FX_KINDS);
    n->d = fuzz_choose(40);
    n->cleanup = byte >= 128 ? fuzz_choose(10) : 0;
    if (n->kind < FX_LEAVES) return n;
    int children = n->kind == FX_TIMEOUT ? 1 : 1 + (int)fuzz_choose(FX_ARMS);
    for (int i = 0; i < children && depth < 6 && fx_count < FX_NODES; i++) n->child[n->children++] = fx_make(depth + 1);
    if (!n->children) n->kind = FX_SLEEP;
    return n;
}
static crt_poll fx_run(fx_node *self, crt_cx *cx);
static void fx_idle(const fx_node *n)   // nothing of it is left
{
    FUZZ_CHECK(!n->active && n->entered == n->finished);
    for (int i = 0; i < n->children; i++) fx_idle(n->child[i]);
}
#define FX_ARM(i) crt_on_if(cx, i, self->children > (i), self->r[i] = fx_run(self->child[i], cx))
// What the macros said, against what the children did.
static void fx_judge(fx_node *self, crt_cx *cx)
{
    int64_t now = crt_now(cx), last = self->start;
    for (int i = 0; i < self->children; i++) {
        fx_idle(self->child[i]);
        if (self->child[i]->entered && self->child[i]->end > last) last = self->child[i]->end;
    }
    FUZZ_CHECK(now >= last);
    if (self->kind == FX_SELECT || self->kind == FX_BIASED) {
        FUZZ_CHECK(self->w >= 0 && self->w < self->children);
        FUZZ_CHECK(self->child[self->w]->natural && self->r[self->w] != CRT_UNWIND);
        FUZZ_CHECK(now == last);
        for (int i = 0; i < self->children; i++) {
            const fx_node *loser = self->child[i], *winner = self->child[self->w];
            if (i == self->w) continue;
            FUZZ_CHECK(self->r[i] == CRT_UNWIND || self->r[i] == FX_UNTOUCHED);
            if (loser->entered && loser->kind == FX_SLEEP && !loser->cleanup)
                FUZZ_CHECK(loser->start + CRT_MS(loser->d) >= winner->end);
        }
    } else if (self->kind == FX_JOIN) {
        FUZZ_CHECK(self->w == 0 && now == last);
        for (int i = 0; i < self->children; i++) FUZZ_CHECK(self->child[i]->natural && self->r[i] != CRT_UNWIND);
    } else if (self->kind == FX_TRY) {
        bool failed = false;
        FUZZ_CHECK(now == last);
        for (int i = 0; i < self->children; i++)
            failed |= self->r[i] < 0 && self->r[i] > CRT_UNWIND && self->r[i] == self->w;
        FUZZ_CHECK(self->w == 0 || failed);
        for (int i = 0; i < self->children && self->w == 0; i++) FUZZ_CHECK(self->child[i]->natural && self->r[i] >= 0);
    } else {
        bool own = self->r[0] == CRT_UNWIND || self->r[0] == FX_UNTOUCHED;
        FUZZ_CHECK(self->w == (own ? CRT_ETIMEDOUT : self->r[0]));
        if (own) FUZZ_CHECK(now >= self->start + CRT_MS(self->d));
        else FUZZ_CHECK(now == last && self->child[0]->natural);
    }
}
static crt_poll fx_run(fx_node *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    self->entered++;
    self->active = true;
    self->natural = false;
    self->start = crt_now(cx);
    for (int i = 0; i < FX_ARMS; i++) self->r[i] = FX_UNTOUCHED;
    if (self->kind == FX_SLEEP || self->kind == FX_FAIL) {
        CRT_AWAIT(self->w = crt_sleep(cx, CRT_MS(self->d)));
        FUZZ_CHECK(crt_now(cx) == self->start + CRT_MS(self->d));
        self->w = self->kind == FX_FAIL ? -(crt_poll)self->id - 1000 : (crt_poll)self->id;
    } else if (self->kind == FX_YIELD) {
        for (self->i = 0; self->i < self->d % 5; self->i++) CRT_YIELD();
    } else if (self->kind == FX_NEVER) {
        CRT_AWAIT(crt_notified(cx, &fx_never));
        FUZZ_CHECK(!"what never happens");
    } else if (self->kind == FX_SELECT) {
        CRT_AWAIT(self->w = crt_select(cx, &self->sel, FX_ARM(0), FX_ARM(1), FX_ARM(2)));
        fx_judge(self, cx);
    } else if (self->kind == FX_BIASED) {
        CRT_AWAIT(self->w = crt_select_biased(cx, &self->sel, FX_ARM(0), FX_ARM(1), FX_ARM(2)));
        fx_judge(self, cx);
    } else if (self->kind == FX_JOIN) {
        CRT_AWAIT(self->w = crt_join_all(cx, &self->sel, FX_ARM(0), FX_ARM(1), FX_ARM(2)));
        fx_judge(self, cx);
    } else if (self->kind == FX_TRY) {
        CRT_AWAIT(self->w = crt_try_join(cx, &self->sel, FX_ARM(0), FX_ARM(1), FX_ARM(2)));
        fx_judge(self, cx);
    } else {
        CRT_AWAIT(self->w = crt_timeout(cx, &self->timer, CRT_MS(self->d), self->r[0] = fx_run(self->child[0], cx)));
        fx_judge(self, cx);
    }
    self->natural = true;
    CRT_RETURN(self->w);
    CRT_FINALLY
        if (self->active) {
            for (int i = 0; i < self->children; i++) fx_idle(self->child[i]);   // child before parent
            if (self->cleanup) CRT_AWAIT(crt_sleep(cx, CRT_MS(self->cleanup)));
            self->finished++;
            self->active = false;
            self->end = crt_now(cx);
            if (self->co.result == CRT_UNWIND) self->natural = false;   // cut short in its cleanup
        }
    CRT_END;
}
typedef struct fx_frame {
    crt_frame co;
    crt_join_handle *join;
    CRT_SELECT(2) sel;
    intptr_t result;
    crt_poll r, w;
    uint32_t abort_after;
    crt_timer timer;
} fx_frame;
typedef struct fx_tree {
    crt_frame co;
    crt_poll r;
} fx_tree;
static crt_poll fx_tree_run(void *frame, crt_cx *cx)
{
    fx_tree *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = fx_run(&fx_node_of[0], cx));
    CRT_RETURN(0);
    CRT_END;
}
static crt_poll fx_main_run(void *frame, crt_cx *cx)
{
    fx_frame *self = frame;
    CRT_BEGIN(self, cx);
    self->abort_after = fuzz_choose(100);
    if (crt_spawn_join(cx, &self->join, fx_tree_run, &(fx_tree){.r = 0})) CRT_RETURN(0);
    // Some trees wait for ever: after a while all are aborted, perhaps while they clean up.
    CRT_AWAIT(self->w = crt_select(cx, &self->sel, crt_on(cx, 0, self->r = crt_join(cx, &self->join, &self->result)),
                                   crt_on(cx, 1, crt_sleep(cx, CRT_MS(self->abort_after)))));
    if (self->w == 1) {
        crt_abort(self->join);
        crt_abort(self->join);
        CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(100), crt_join(cx, &self->join, &self->result)));
    }
    FUZZ_CHECK(self->r == 0 || (self->r == CRT_ECANCELED && self->w == 1));
    fx_idle(&fx_node_of[0]);
    for (int i = 0; i < fx_count; i++) FUZZ_CHECK(!fx_node_of[i].active && fx_node_of[i].entered == fx_node_of[i].finished);
    CRT_END;
}
FUZZ(combine)
{
    fx_frame frame;
    memset(&frame, 0, sizeof frame);
    memset(fx_node_of, 0, sizeof fx_node_of);
    memset(&fx_never, 0, sizeof fx_never);
    fx_count = 0;
    fx_make(0);
    FUZZ_CHECK(fuzz_block_on(fx_main_run, &frame) == 0);
}
