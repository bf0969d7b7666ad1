// The coroutine contract: macros, sentinels, cleanup however a task ends, hand-written
// polls and wakers.
//
// Most tests run one subject task under a driver task that follows a script. Each time
// the subject is parked, the driver does the next thing:
//     a  abort it        g  notify the gate        A  abort it twice
//     *  from here on it is left alone (it waits for something else)
// A script that begins with ! aborts the subject before its first poll (it is spawned
// on the driver's own worker, so it cannot have begun).
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

#include <pthread.h>

static crt_notify gate;
static char trace_text[512];
static unsigned trace_length;   // atomic
static void note(char c)
{
    unsigned i = __atomic_fetch_add(&trace_length, 1, __ATOMIC_SEQ_CST);
    if (i < sizeof trace_text - 1) trace_text[i] = c;
}
static void trace_clear(void)
{
    memset(trace_text, 0, sizeof trace_text);
    trace_length = 0;
    memset(&gate, 0, sizeof gate);
}
static void trace_is(const char *file, int line, const char *what, const char *want)
{
    if (!strcmp(trace_text, want)) return;
    fprintf(stderr, "%s:%d: %s: %s: trace is \"%s\", not \"%s\"\n", file, line, test__name, what, trace_text, want);
    __atomic_fetch_add(&test__bad, 1, __ATOMIC_SEQ_CST);
}
#define TRACE(what, want) trace_is(__FILE__, __LINE__, what, want)

static bool is_parked(crt_join_handle *h)
{
    return crt__sits_idle(crt__atomic_load(&((crt_task *)h)->state, CRT__ACQUIRE));
}

typedef struct drive {
    crt_frame co;
    crt_fn fn;
    void *frame;
    size_t size;
    const char *script;
    crt_join_handle *join;
    crt_local_set set;
    int code, stuck;
    intptr_t result;
    char message[256];
} drive;
static crt_poll drive_run(void *frame, crt_cx *cx)
{
    drive *self = frame;
    CRT_BEGIN(self, cx);
    if (*self->script == '!') {
        self->script++;
        CHECK_EQ(crt__local_set_spawn(cx, &self->set, &self->join, self->fn, self->frame, self->size, NULL), 0);
        crt_abort(self->join);
    } else {
        crt_task_desc d = {.fn = self->fn, .frame = self->frame, .size = self->size, .join = &self->join};
        CHECK_EQ(crt_spawn_ex(cx, &d), 0);
    }
    while (!crt_is_finished(self->join)) {
        if (is_parked(self->join)) {
            char c = !*self->script ? '?' : *self->script == '*' ? '*' : *self->script++;
            if (c == 'g') crt_notify_one(&gate);
            if (c == 'a' || c == 'A') crt_abort(self->join);
            if (c == 'A') crt_abort(self->join);
            if (c == '?') {   // parked for good: get it out, and say so
                self->stuck++;
                if (self->stuck > 100000) CRT_PANIC(cx, "the subject is stuck");
                if (self->stuck == 1) crt_abort(self->join);
                else crt_notify_one(&gate);
            }
        }
        CRT_YIELD();
    }
    CRT_AWAIT(self->code = (int)crt_join(cx, &self->join, &self->result));
    if (self->join) {
        snprintf(self->message, sizeof self->message, "%s", crt_join_panic_message(self->join));
        crt_detach(&self->join);
    }
    CRT_AWAIT(crt_local_set_join(cx, &self->set));
    CRT_END;
}
// The outcome: the join's code, or if that is 0 the result.
static intptr_t run(crt_runtime *rt, const char *script, drive *d)
{
    d->script = script;
    d->result = -77777;
    trace_clear();
    CHECK_EQ(crt_block_on(rt, drive_run, d), 0);
    CHECK_EQ(d->stuck, 0);
    CHECK(!*d->script || *d->script == '*');   // the whole script was played
    return d->code ? d->code : d->result;
}
#define RUN(rt, script, d, f, ...)                                                         \
    (*(d) = (drive){.fn = (f), .frame = (__VA_ARGS__), .size = sizeof *(__VA_ARGS__)}, run((rt), (script), (d)))

// --- sentinels

static void sentinels_lie_below_every_error(void)
{
    int pending = (int)CRT_PENDING, unwind = (int)CRT_UNWIND;
    CHECK_EQ(pending, CRT_PENDING);
    CHECK_EQ(unwind, CRT_UNWIND);
    CHECK(CRT_PENDING < CRT_UNWIND);
    CHECK(CRT_UNWIND < CRT__ERROR_LAST);
    CHECK(CRT_UNWIND < -4095);   // the lowest -errno
    CHECK(CRT_UNWIND < 0);
    CHECK((crt_poll)CRT_PENDING != (crt_poll)CRT_UNWIND);
}

// Signed results of every width that is at least an int's keep their value.
typedef struct widths {
    crt_frame co;
    int i;
    long l;
    long long ll;
    ptrdiff_t d;
    crt_poll p;
    int n;
} widths;
static int calls;
static crt_poll after_yields(widths *self, crt_cx *cx, crt_poll value)
{
    crt_poll r = crt_yield_now(cx);
    calls++;
    (void)self;
    return r < 0 ? r : value;
}
static crt_poll widths_run(void *frame, crt_cx *cx)
{
    widths *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->i = (int)after_yields(self, cx, -5));
    CRT_AWAIT(self->l = (long)after_yields(self, cx, INT_MAX));
    CRT_AWAIT(self->ll = after_yields(self, cx, 6));
    CRT_AWAIT(self->d = after_yields(self, cx, 7));
    CRT_AWAIT(self->p = after_yields(self, cx, 8));
    CRT_AWAIT(after_yields(self, cx, 9));   // the value may be ignored
    CRT_RETURN(self->i + self->ll + self->d + self->p);
    CRT_END;
}
static void await_takes_int_and_wider(crt_runtime *rt)
{
    widths w = {.co = {0}};
    calls = 0;
    CHECK_EQ(crt_block_on(rt, widths_run, &w), 16);
    CHECK_EQ(w.l, INT_MAX);
    CHECK_EQ(calls, 12);   // evaluated once for each poll: pending, ready
}

// --- every ending, with and without awaits in the cleanup

enum { RETURN, FALL, PANIC, NEGATIVE };
typedef struct ends {
    crt_frame co;
    int how;
    int early;            // ends before its first await
    int cleanup_awaits;
    int finally_ends;     // 1: CRT_RETURN(9) in the cleanup; 2: panic there
    int i;
    crt_poll r;
} ends;
static crt_poll ends_run(void *frame, crt_cx *cx)
{
    ends *self = frame;
    CRT_BEGIN(self, cx);
    note('b');
    if (!self->early) {
        self->r = 1;
        CRT_AWAIT(self->r = crt_notified(cx, &gate));
        note('w');
    }
    if (self->how == RETURN) CRT_RETURN(7);
    if (self->how == NEGATIVE) CRT_RETURN(CRT_ECLOSED);
    if (self->how == PANIC) CRT_PANIC(cx, "on purpose %d", 42);
    CRT_FINALLY
        note('f');
        for (self->i = 0; self->i < self->cleanup_awaits; self->i++) {
            CRT_AWAIT(self->r = crt_notified(cx, &gate));
            note(self->r == CRT_UNWIND ? 'u' : self->r == 0 ? 'c' : '?');
        }
        if (self->finally_ends == 1) CRT_RETURN(9);
        if (self->finally_ends == 2) CRT_PANIC(cx, "in the cleanup");
        note('e');
    CRT_END;
}
static void every_ending_runs_finally_once(crt_runtime *rt)
{
    static const struct {
        const char *what;
        ends frame;
        const char *script;
        intptr_t want;
        const char *trace;
    } cases[] = {
        {"return", {.how = RETURN}, "g", 7, "bwfe"},
        {"return at once", {.how = RETURN, .early = 1}, "", 7, "bfe"},
        {"fall through", {.how = FALL}, "g", 0, "bwfe"},
        {"fall through at once", {.how = FALL, .early = 1}, "", 0, "bfe"},
        {"negative", {.how = NEGATIVE}, "g", CRT_ECLOSED, "bwfe"},
        {"panic", {.how = PANIC}, "g", CRT_EPANIC, "bwfe"},
        {"panic at once", {.how = PANIC, .early = 1}, "", CRT_EPANIC, "bfe"},
        {"cancel", {.how = RETURN}, "a", CRT_ECANCELED, "bfe"},
        {"abort twice", {.how = RETURN}, "A", CRT_ECANCELED, "bfe"},
        {"abort before the first poll", {.how = RETURN}, "!", CRT_ECANCELED, "fe"},
        {"abort before the first poll, would panic", {.how = PANIC, .early = 1}, "!", CRT_ECANCELED, "fe"},
        // awaits in the cleanup
        {"return, cleanup awaits", {.how = RETURN, .cleanup_awaits = 2}, "ggg", 7, "bwfcce"},
        {"fall, cleanup awaits", {.how = FALL, .cleanup_awaits = 2}, "ggg", 0, "bwfcce"},
        {"panic, cleanup awaits", {.how = PANIC, .cleanup_awaits = 2}, "ggg", CRT_EPANIC, "bwfcce"},
        {"cancel, cleanup awaits", {.how = RETURN, .cleanup_awaits = 2}, "agg", CRT_ECANCELED, "bfcce"},
        {"unpolled, cleanup awaits", {.how = RETURN, .cleanup_awaits = 2}, "!gg", CRT_ECANCELED, "fcce"},
        // an abort that arrives during the cleanup cuts one await short; the rest goes on
        {"return, aborted in cleanup", {.how = RETURN, .cleanup_awaits = 3}, "gagg", CRT_ECANCELED, "bwfucce"},
        {"return, aborted in 2nd await", {.how = RETURN, .cleanup_awaits = 3}, "ggag", CRT_ECANCELED, "bwfcuce"},
        {"return, aborted in last await", {.how = RETURN, .cleanup_awaits = 2}, "gga", CRT_ECANCELED, "bwfcue"},
        {"fall, aborted in cleanup", {.how = FALL, .cleanup_awaits = 2}, "gag", CRT_ECANCELED, "bwfuce"},
        {"panic, aborted in cleanup", {.how = PANIC, .cleanup_awaits = 2}, "gag", CRT_EPANIC, "bwfuce"},
        // cancellation is delivered once: later aborts do not disturb the cleanup (the
        // notification after them must still be waited for)
        {"cancel, aborted again", {.how = RETURN, .cleanup_awaits = 2}, "aagg", CRT_ECANCELED, "bfcce"},
        {"cancel, aborted often", {.how = RETURN, .cleanup_awaits = 2}, "AAgAg", CRT_ECANCELED, "bfcce"},
        {"unpolled, aborted again", {.how = RETURN, .cleanup_awaits = 1}, "!ag", CRT_ECANCELED, "fce"},
        {"return, aborted twice in cleanup", {.how = RETURN, .cleanup_awaits = 3}, "gaagg", CRT_ECANCELED, "bwfucce"},
        // leaving the cleanup early
        {"return in cleanup after return", {.how = RETURN, .finally_ends = 1}, "g", 9, "bwf"},
        {"return in cleanup after fall", {.how = FALL, .finally_ends = 1}, "g", 9, "bwf"},
        {"return in cleanup after cancel", {.how = RETURN, .finally_ends = 1}, "a", CRT_ECANCELED, "bf"},
        {"return in cleanup after panic", {.how = PANIC, .finally_ends = 1}, "g", CRT_EPANIC, "bwf"},
        {"return in unpolled cleanup", {.how = PANIC, .finally_ends = 1}, "!", CRT_ECANCELED, "f"},
        {"return in cut cleanup", {.how = RETURN, .cleanup_awaits = 1, .finally_ends = 1}, "ga", CRT_ECANCELED, "bwfu"},
        {"panic in cleanup after return", {.how = RETURN, .finally_ends = 2}, "g", CRT_EPANIC, "bwf"},
        {"panic in cleanup after cancel", {.how = RETURN, .finally_ends = 2}, "a", CRT_EPANIC, "bf"},
        {"panic in cleanup after panic", {.how = PANIC, .finally_ends = 2}, "g", CRT_EPANIC, "bwf"},
        {"panic in unpolled cleanup", {.how = FALL, .cleanup_awaits = 1, .finally_ends = 2}, "!g", CRT_EPANIC, "fc"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        drive d;
        ends frame = cases[i].frame;
        intptr_t got = RUN(rt, cases[i].script, &d, ends_run, &frame);
        if (got != cases[i].want) fprintf(stderr, "case: %s\n", cases[i].what);
        CHECK_EQ(got, cases[i].want);
        TRACE(cases[i].what, cases[i].trace);
    }
}
static void first_panic_message_stays(crt_runtime *rt)
{
    drive d;
    CHECK_EQ(RUN(rt, "g", &d, ends_run, &(ends){.how = PANIC, .finally_ends = 2}), CRT_EPANIC);
    CHECK(strstr(d.message, "on purpose 42") != NULL);
    CHECK(strstr(d.message, "test_coroutine.c:") != NULL);
    CHECK(strstr(d.message, "ends_run") != NULL);
    CHECK_EQ(RUN(rt, "a", &d, ends_run, &(ends){.how = RETURN, .finally_ends = 2}), CRT_EPANIC);
    CHECK(strstr(d.message, "in the cleanup") != NULL);
}

// Without a CRT_FINALLY.
typedef struct plain {
    crt_frame co;
    int how;
} plain;
static crt_poll plain_run(void *frame, crt_cx *cx)
{
    plain *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_notified(cx, &gate));
    if (self->how == RETURN) CRT_RETURN(3);
    if (self->how == PANIC) CRT_PANIC(cx, "plain");
    CRT_END;
}
static void finally_is_optional(crt_runtime *rt)
{
    drive d;
    CHECK_EQ(RUN(rt, "g", &d, plain_run, &(plain){.how = RETURN}), 3);
    CHECK_EQ(RUN(rt, "g", &d, plain_run, &(plain){.how = FALL}), 0);
    CHECK_EQ(RUN(rt, "g", &d, plain_run, &(plain){.how = PANIC}), CRT_EPANIC);
    CHECK_EQ(RUN(rt, "a", &d, plain_run, &(plain){.how = RETURN}), CRT_ECANCELED);
    CHECK_EQ(RUN(rt, "!", &d, plain_run, &(plain){.how = RETURN}), CRT_ECANCELED);
}

// --- children: three levels, cleaned up child before parent

typedef struct leafy {
    crt_frame co;
    int how, cleanup_awaits;
    char name;
    crt_poll r;
    int i;
} leafy;
static crt_poll leafy_run(void *frame, crt_cx *cx)
{
    leafy *self = frame;
    CRT_BEGIN(self, cx);
    note(self->name);
    CRT_AWAIT(crt_notified(cx, &gate));
    if (self->how == PANIC) CRT_PANIC(cx, "deep");
    CRT_RETURN(100);
    CRT_FINALLY
        for (self->i = 0; self->i < self->cleanup_awaits; self->i++) {
            CRT_AWAIT(self->r = crt_notified(cx, &gate));
            note(self->r == CRT_UNWIND ? 'u' : 'c');
        }
        note((char)(self->name - 32));
    CRT_END;
}
typedef struct middle {
    crt_frame co;
    leafy child, cleaner;
    crt_poll r;
    int cleans;
} middle;
static crt_poll middle_run(void *frame, crt_cx *cx)
{
    middle *self = frame;
    CRT_BEGIN(self, cx);
    note('m');
    CRT_AWAIT(self->r = leafy_run(&self->child, cx));
    note('+');
    CRT_RETURN(self->r + 10);
    CRT_FINALLY
        if (self->cleans) {   // a child coroutine in the cleanup
            self->cleaner.name = 'k';
            CRT_AWAIT(self->r = leafy_run(&self->cleaner, cx));
            note(self->r == CRT_UNWIND ? '!' : '=');
        }
        note('M');
    CRT_END;
}
typedef struct top {
    crt_frame co;
    middle child;
    crt_poll r;
} top;
static crt_poll top_run(void *frame, crt_cx *cx)
{
    top *self = frame;
    CRT_BEGIN(self, cx);
    note('t');
    self->child.child.name = 'l';
    CRT_AWAIT(self->r = middle_run(&self->child, cx));
    note('+');
    CRT_RETURN(self->r + 1);
    CRT_FINALLY
        note('T');
    CRT_END;
}
static void children_unwind_before_parents(crt_runtime *rt)
{
    static const struct {
        top frame;
        const char *script;
        intptr_t want;
        const char *trace;
    } cases[] = {
        {{.child.child.how = RETURN}, "g", 111, "tmlL+M+T"},
        {{.child.child.how = PANIC}, "g", CRT_EPANIC, "tmlLMT"},
        {{.child.child.how = RETURN}, "a", CRT_ECANCELED, "tmlLMT"},
        {{.child.child.how = RETURN}, "!", CRT_ECANCELED, "T"},
        {{.child.child.cleanup_awaits = 2}, "agg", CRT_ECANCELED, "tmlccLMT"},
        {{.child.child.cleanup_awaits = 2}, "aAgg", CRT_ECANCELED, "tmlccLMT"},
        // an abort in the child's cleanup after a normal return unwinds the parents too
        {{.child.child.cleanup_awaits = 2}, "gag", CRT_ECANCELED, "tmlucLMT"},
        {{.child.cleans = 1}, "ag", CRT_ECANCELED, "tmlLkK=MT"},
        // the child that cleans up is cancelled in its body, to its end; then the rest
        {{.child.cleans = 1}, "ga", CRT_ECANCELED, "tmlL+kK!MT"},
        {{.child.cleans = 1, .child.cleaner.cleanup_awaits = 2}, "gagg", CRT_ECANCELED, "tmlL+kccK!MT"},
        {{.child.cleans = 1, .child.cleaner.cleanup_awaits = 1}, "agg", CRT_ECANCELED, "tmlLkcK=MT"},
        {{.child.cleans = 1, .child.cleaner.how = PANIC}, "gg", CRT_EPANIC, "tmlL+kK!MT"},
        {{.child.cleans = 1, .child.cleaner.how = PANIC}, "ag", CRT_EPANIC, "tmlLkK!MT"},
        {{.child.cleans = 1, .child.child.how = PANIC}, "gg", CRT_EPANIC, "tmlLkK=MT"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        drive d;
        top frame = cases[i].frame;
        CHECK_EQ(RUN(rt, cases[i].script, &d, top_run, &frame), cases[i].want);
        TRACE(cases[i].script, cases[i].trace);
    }
}

// --- the frame is ready again, whatever the ending

typedef struct again {
    crt_frame co;
    ends child;
    CRT_SELECT(2) sel;
    crt_poll r, w;
    int i;
} again;
static bool is_zero(const crt_frame *f) { return !f->resume && !f->flags && !f->result; }
static crt_poll gives_zero(crt_cx *cx)
{
    (void)cx;
    return 0;
}
static crt_poll again_run(void *frame, crt_cx *cx)
{
    again *self = frame;
    CRT_BEGIN(self, cx);
    self->child.early = 1;
    for (self->i = 0; self->i < 1000; self->i++) {
        self->child.how = self->i % 2 ? FALL : RETURN;
        CRT_AWAIT(self->r = ends_run(&self->child, cx));
        CHECK_EQ(self->r, self->i % 2 ? 0 : 7);
        CHECK(is_zero(&self->child.co));
    }
    self->child.early = 0;
    for (self->i = 0; self->i < 1000; self->i++) {   // cancelled as a loser, then run again
        CRT_AWAIT(self->w = crt_select_biased(cx, &self->sel,
            crt_on(cx, 0, self->r = ends_run(&self->child, cx)),
            crt_on(cx, 1, gives_zero(cx))));
        CHECK_EQ(self->w, 1);
        CHECK_EQ(self->r, CRT_UNWIND);
        CHECK(is_zero(&self->child.co));
        crt_notify_one(&gate);
        self->child.how = RETURN;
        CRT_AWAIT(self->r = ends_run(&self->child, cx));
        CHECK_EQ(self->r, 7);
        CHECK(is_zero(&self->child.co));
    }
    CRT_END;
}
static void a_finished_frame_is_ready_again(crt_runtime *rt)
{
    again f = {.co = {0}};
    trace_clear();
    CHECK_EQ(crt_block_on(rt, again_run, &f), 0);
    CHECK(is_zero(&f.co));
    // the frame of block_on stays the caller's: run it again, also after a panic
    CHECK_EQ(crt_block_on(rt, again_run, &f), 0);
    ends e = {.how = PANIC, .early = 1};
    CHECK_EQ(crt_block_on(rt, ends_run, &e), CRT_EPANIC);
    CHECK(is_zero(&e.co));
    e.how = RETURN;
    CHECK_EQ(crt_block_on(rt, ends_run, &e), 7);
    CHECK(is_zero(&e.co));
}

// --- the resume point

typedef struct sees {
    crt_frame co;
    unsigned inside[3];
} sees;
static crt_poll look(sees *self, int i)
{
    self->inside[i] = self->co.resume;
    return 0;
}
static crt_poll sees_run(void *frame, crt_cx *cx)
{
    sees *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(look(self, 0)); CHECK_EQ(self->inside[0], __LINE__);
    CRT_AWAIT(look(self, 1)); CHECK_EQ(self->inside[1], __LINE__);
    CRT_FINALLY
        CRT_AWAIT(look(self, 2)); CHECK_EQ(self->inside[2], __LINE__);
    CRT_END;
}
static void resume_point_is_the_line_and_is_stored_first(crt_runtime *rt)
{
    sees s = {.co = {0}};
    if (CRT__STATE(1, 0)) CHECK_EQ(crt_block_on(rt, sees_run, &s), 0);   // else it is a counter
}

// Awaits in loops, branches and blocks.
typedef struct shapes {
    crt_frame co;
    int i, j, n;
} shapes;
static crt_poll shapes_run(void *frame, crt_cx *cx)
{
    shapes *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 3; self->i++) {
        self->j = 0;
        while (self->j < 3) {
            if ((self->i + self->j) % 2) {
                CRT_YIELD();
                self->n += 1;
            } else if (self->j)
                CRT_AWAIT(crt_yield_now(cx));   // a single statement
            else
                CRT_YIELD();
            self->j++;
        }
    }
    do {
        if (self->n > 100) break;
        CRT_YIELD();
        self->n += 100;
    } while (true);
    {
        int local = 5;   // lives between two awaits
        self->n += local;
    }
    for (self->i = 0;; self->i++) {
        CRT_YIELD();
        if (self->i < 4) continue;
        break;
    }
    CRT_RETURN(self->n);
    CRT_END;
}
static void awaits_work_in_every_statement(crt_runtime *rt)
{
    shapes s = {.co = {0}};
    CHECK_EQ(crt_block_on(rt, shapes_run, &s), 109);
}

// --- the trap: an await inside a nested switch fails loudly on its first resume

typedef struct nested {
    crt_frame co;
    int which;
} nested;
static crt_poll nested_run(void *frame, crt_cx *cx)
{
    nested *self = frame;
    CRT_BEGIN(self, cx);
    switch (self->which) {
    case 1:
        CRT_AWAIT(crt_notified(cx, &gate));
        note('x');   // never
        break;
    case 2:   // ready at once: it never resumes, so nothing is wrong
        CRT_AWAIT(gives_zero(cx));
        CRT_RETURN(5);
    default:
        break;
    }
    CRT_FINALLY
        note('f');
        CRT_AWAIT(crt_yield_now(cx));   // the cleanup may await as ever
        note('e');
    CRT_END;
}
typedef struct around {
    crt_frame co;
    nested child;
    crt_poll r;
} around;
static crt_poll around_run(void *frame, crt_cx *cx)
{
    around *self = frame;
    CRT_BEGIN(self, cx);
    self->child.which = 1;
    CRT_AWAIT(self->r = nested_run(&self->child, cx));
    note('+');
    CRT_FINALLY
        note('P');
    CRT_END;
}
static void an_await_in_a_nested_switch_is_trapped(void)
{
    static const int flavors[] = {CRT_CURRENT_THREAD, CRT_MULTI_THREAD};
    for (int i = 0; i < 2; i++) {
        crt_runtime *rt;
        drive d;
        test_log_clear();
        crt_config c = {.flavor = flavors[i], .worker_threads = 1, .log.func = test_log};
        CHECK_EQ(crt_runtime_new(&c, &rt), 0);
        CHECK_EQ(RUN(rt, "g", &d, nested_run, &(nested){.which = 1}), CRT_EPANIC);
        TRACE("trap", "fe");
        CHECK(strstr(d.message, "nested switch") != NULL);
        CHECK(strstr(d.message, "test_coroutine.c") != NULL);
        CHECK(strstr(d.message, "nested_run") != NULL);
        CHECK(strstr(d.message, "line ") != NULL);
        CHECK(test_log_has("nested_run"));
        // The trapped await's node is gone: the next to wait is the one that is told.
        CHECK(gate.q.head == NULL && gate.q.tail == NULL);
        CHECK_EQ(RUN(rt, "g", &d, around_run, &(around){.co = {0}}), CRT_EPANIC);
        TRACE("trap in a child", "feP");
        CHECK_EQ(RUN(rt, "", &d, nested_run, &(nested){.which = 2}), 5);
        crt_runtime_drop(&rt);
    }
}
typedef struct scribble {
    crt_frame co;
    int n;
} scribble;
static crt_poll scribble_run(void *frame, crt_cx *cx)
{
    scribble *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT((self->co.resume = 1, crt_yield_now(cx)));   // no such state
    note('x');
    CRT_FINALLY
        note('f');
    CRT_END;
}
static void an_overwritten_frame_is_trapped(void)
{
    crt_runtime *rt;
    drive d;
    crt_config c = {.flavor = CRT_CURRENT_THREAD, .log.func = test_log};
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    CHECK_EQ(RUN(rt, "", &d, scribble_run, &(scribble){.co = {0}}), CRT_EPANIC);
    TRACE("scribble", "f");
    crt_runtime_drop(&rt);
}

// --- a computing task is not interrupted; an abort that comes too late is none

typedef struct busy {
    crt_frame co;
    int *started, *go;
    int await;
} busy;
static crt_poll busy_run(void *frame, crt_cx *cx)
{
    busy *self = frame;
    CRT_BEGIN(self, cx);
    __atomic_store_n(self->started, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(self->go, __ATOMIC_SEQ_CST)) test_pause_us(100);
    if (self->await) {
        CRT_AWAIT(crt_notified(cx, &gate));   // the abort is delivered at the next await
        note('x');
    }
    CRT_RETURN(11);
    CRT_FINALLY
        note('f');
    CRT_END;
}
static void abort_does_not_interrupt_a_running_poll(void)
{
    for (int await = 0; await < 2; await++) {
        crt_runtime *rt;
        crt_join_handle *join;
        int started = 0, go = 0;
        intptr_t result = -1;
        trace_clear();
        CHECK_EQ(crt_runtime_new(&(crt_config){.worker_threads = 2}, &rt), 0);
        crt_handle *h = crt_runtime_handle(rt);
        CHECK_EQ(crt_handle_spawn_join(h, &join, busy_run, &(busy){.started = &started, .go = &go, .await = await}), 0);
        while (!__atomic_load_n(&started, __ATOMIC_SEQ_CST)) test_pause_us(100);
        crt_abort(join);
        CHECK(!crt_is_finished(join));
        __atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
        CHECK_EQ(crt_join_blocking(&join, &result), await ? CRT_ECANCELED : 0);
        CHECK_EQ(result, await ? -1 : 11);
        TRACE("busy", "f");
        crt_handle_drop(&h);
        crt_runtime_drop(&rt);
    }
}

// --- an unwind is delivered at every kind of leaf, and the leaf lets go

enum {
    AT_SLEEP, AT_SLEEP_UNTIL, AT_NOTIFIED, AT_SEMAPHORE, AT_MUTEX, AT_JOIN, AT_ONESHOT, AT_TOKEN, AT_TIMER,
    AT_INTERVAL, AT_FD, AT_BLOCKING_JOIN, AT_SET, AT_SIGNAL, AT_COUNT
};
typedef struct at_leaf {
    crt_frame co;
    int which;
    crt_notify notify;
    crt_semaphore semaphore;
    crt_mutex mutex;
    crt_timer timer;
    crt_interval interval;
    crt_join_handle *join;
    crt_oneshot_tx *tx;
    crt_oneshot_rx *rx;
    crt_cancel_token *token;
    crt_local_set set;
    int fd[2];
    int value, *release;
    crt_poll r;
} at_leaf;
static crt_poll forever_run(void *frame, crt_cx *cx)
{
    plain *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_FOREVER));
    CRT_END;
}
static intptr_t waits_for_flag(void *arg)
{
    while (!__atomic_load_n((int *)arg, __ATOMIC_SEQ_CST)) test_pause_us(200);
    return 0;
}
static int release_job;
static crt_poll leaf_poll(at_leaf *self, crt_cx *cx)
{
    switch (self->which) {   // no await in here: a plain poll function may switch
    case AT_SLEEP: return crt_sleep(cx, CRT_SEC(1000));
    case AT_SLEEP_UNTIL: return crt_sleep_until(cx, crt_now(cx) + CRT_SEC(1000));
    case AT_NOTIFIED: return crt_notified(cx, &self->notify);
    case AT_SEMAPHORE: return crt_semaphore_acquire(cx, &self->semaphore, 1);
    case AT_MUTEX: return crt_mutex_lock(cx, &self->mutex);
    case AT_JOIN: case AT_BLOCKING_JOIN: return crt_join(cx, &self->join, NULL);
    case AT_ONESHOT: return crt_oneshot_recv(cx, &self->rx, &self->value);
    case AT_TOKEN: return crt_cancelled(cx, self->token);
    case AT_TIMER: return crt_timer_wait(cx, &self->timer);
    case AT_INTERVAL: return crt_interval_tick(cx, &self->interval);
    case AT_SET: return crt_local_set_join(cx, &self->set);
    case AT_SIGNAL: return crt_signal_recv(cx, SIGUSR1);
    default: return crt_fd_readable(cx, self->fd[0]);
    }
}
static crt_poll at_leaf_run(void *frame, crt_cx *cx)
{
    at_leaf *self = frame;
    CRT_BEGIN(self, cx);
    crt_semaphore_init(&self->semaphore, 0);
    CHECK_EQ(crt_mutex_try_lock(&self->mutex), 0);
    crt_timer_reset(cx, &self->timer, CRT_SEC(1000));
    crt_interval_init(&self->interval, CRT_SEC(1000), CRT_DELAY);
    CRT_AWAIT(crt_interval_tick(cx, &self->interval));   // the first comes at once
    CHECK_EQ(crt_oneshot_new(sizeof(int), &self->tx, &self->rx), 0);
    self->token = crt_cancel_token_new();
    CHECK_EQ(pipe(self->fd), 0);
    if (self->which == AT_JOIN) CHECK_EQ(crt_spawn_join(cx, &self->join, forever_run, &(plain){.co = {0}}), 0);
    if (self->which == AT_BLOCKING_JOIN) CHECK_EQ(crt_spawn_blocking(cx, &self->join, waits_for_flag, &release_job), 0);
    if (self->which == AT_SET) CHECK_EQ(crt_local_set_spawn_join(cx, &self->set, &self->join, forever_run, &(plain){.co = {0}}), 0);
    note('b');
    CRT_AWAIT(self->r = leaf_poll(self, cx));
    note('x');
    CRT_FINALLY
        CHECK_EQ(self->r, CRT_UNWIND);
        CHECK(cx->task->u.slot.op == NULL);   // unlinked
        note('f');
        CRT_YIELD();
        // What nobody waits for any more is as if nobody had waited.
        crt_notify_one(&self->notify);
        CRT_AWAIT(crt_notified(cx, &self->notify));
        crt_semaphore_release(&self->semaphore, 1);
        CHECK_EQ(crt_semaphore_try_acquire(&self->semaphore, 1), 0);
        crt_mutex_unlock(&self->mutex);
        CHECK_EQ(crt_mutex_try_lock(&self->mutex), 0);
        CHECK_EQ(crt_oneshot_send(&self->tx, &(int){6}), 0);   // the receiver is kept
        CRT_AWAIT(self->r = crt_oneshot_recv(cx, &self->rx, &self->value));
        CHECK_EQ(self->r, 0);
        CHECK_EQ(self->value, 6);
        crt_cancel_token_cancel(self->token);
        CRT_AWAIT(crt_cancelled(cx, self->token));
        crt_cancel_token_drop(&self->token);
        close(self->fd[0]);
        close(self->fd[1]);
        if (self->join) {   // the handle is kept: crt_join is cancel-safe
            __atomic_store_n(&release_job, 1, __ATOMIC_SEQ_CST);
            if (self->which != AT_BLOCKING_JOIN) crt_abort(self->join);
            CRT_AWAIT(self->r = crt_join(cx, &self->join, NULL));
            CHECK_EQ(self->r, self->which == AT_BLOCKING_JOIN ? 0 : CRT_ECANCELED);
            CHECK(self->join == NULL);
        }
        CRT_AWAIT(crt_local_set_join(cx, &self->set));
        note('e');
    CRT_END;
}
static void an_unwind_reaches_every_leaf(crt_runtime *rt)
{
    for (int which = 0; which < AT_COUNT; which++) {
        drive d = {.fn = at_leaf_run};
        at_leaf frame = {.which = which};
        release_job = 0;
        intptr_t got = RUN(rt, "a*", &d, at_leaf_run, &frame);
        if (got != CRT_ECANCELED || strcmp(trace_text, "bfe")) fprintf(stderr, "leaf %d\n", which);
        CHECK_EQ(got, CRT_ECANCELED);
        TRACE("leaf", "bfe");
    }
}

// --- hand-written poll functions

// Counts down, waking itself: neither a leaf of crt nor a coroutine.
typedef struct countdown {
    int left, polls, unwinds, ignores, result;
} countdown;
static crt_poll countdown_poll(void *frame, crt_cx *cx)
{
    countdown *self = frame;
    self->polls++;
    if (!self->ignores && crt_take_unwind(cx)) {
        self->unwinds++;
        note('u');
        return CRT_UNWIND;
    }
    if (self->left-- <= 0) return self->result;
    crt_waker w = crt_waker_clone(cx);
    crt_wake(&w);
    return CRT_PENDING;
}
static crt_poll parked_poll(void *frame, crt_cx *cx)   // nobody wakes it but an abort
{
    countdown *self = frame;
    self->polls++;
    if (!self->ignores && crt_take_unwind(cx)) {
        note('u');
        return CRT_UNWIND;
    }
    return CRT_PENDING;
}
typedef struct wraps {
    crt_frame co;
    countdown c;
    int parks;
    crt_poll r;
} wraps;
static crt_poll wraps_run(void *frame, crt_cx *cx)
{
    wraps *self = frame;
    CRT_BEGIN(self, cx);
    if (self->parks) CRT_AWAIT(self->r = parked_poll(&self->c, cx));
    CRT_AWAIT(self->r = countdown_poll(&self->c, cx));
    CRT_RETURN(self->r);
    CRT_FINALLY
        CRT_AWAIT(self->r = crt_yield_now(cx));   // the unwind was taken, or used up: once is all
        CHECK_EQ(self->r, 0);
        note('f');
    CRT_END;
}
static void hand_written_polls_are_tasks_and_children(crt_runtime *rt)
{
    countdown c = {.left = 10, .result = 5};
    drive d;
    CHECK_EQ(crt_block_on(rt, countdown_poll, &c), 5);
    CHECK_EQ(c.polls, 11);
    CHECK_EQ(RUN(rt, "", &d, countdown_poll, &(countdown){.left = 3, .result = 4}), 4);
    CHECK_EQ(RUN(rt, "", &d, countdown_poll, &(countdown){.left = 3, .result = CRT_ECLOSED}), CRT_ECLOSED);
    CHECK_EQ(RUN(rt, "", &d, wraps_run, &(wraps){.c = {.left = 20, .result = 6}}), 6);
    TRACE("child", "f");
    CHECK_EQ(RUN(rt, "a", &d, parked_poll, &(countdown){.left = 0}), CRT_ECANCELED);
    TRACE("root that looks", "u");
    CHECK_EQ(RUN(rt, "!", &d, parked_poll, &(countdown){.left = 0}), CRT_ECANCELED);
    TRACE("unpolled root that looks", "u");
    CHECK_EQ(RUN(rt, "a", &d, wraps_run, &(wraps){.parks = 1}), CRT_ECANCELED);
    TRACE("child that looks", "uf");
    // One that ignores the unwind is given up; whoever awaits it still cleans up.
    CHECK_EQ(RUN(rt, "a", &d, parked_poll, &(countdown){.ignores = 1}), CRT_ECANCELED);
    CHECK_EQ(RUN(rt, "!", &d, parked_poll, &(countdown){.ignores = 1}), CRT_ECANCELED);
    CHECK_EQ(RUN(rt, "a", &d, wraps_run, &(wraps){.parks = 1, .c.ignores = 1}), CRT_ECANCELED);
    TRACE("child that ignores", "f");
}
static crt_poll hand_panics(void *frame, crt_cx *cx)
{
    countdown *self = frame;
    return self->left ? crt_panic(cx, "by hand %d", 3) : 0;
}
static void hand_written_polls_may_panic(crt_runtime *rt)
{
    drive d;
    CHECK_EQ(RUN(rt, "", &d, hand_panics, &(countdown){.left = 1}), CRT_EPANIC);
    CHECK(strstr(d.message, "by hand 3") != NULL);
}

// --- wakers

typedef struct mailbox {   // a future completed by a foreign thread
    pthread_mutex_t lock;
    crt_waker waker;
    int ready, registered, polls;
} mailbox;
static crt_poll mail_poll(mailbox *box, crt_cx *cx)
{
    crt_waker old = {0};
    crt_poll r = CRT_PENDING;
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    pthread_mutex_lock(&box->lock);
    box->polls++;
    if (box->ready) {
        box->ready--;
        r = 0;
    } else if (!crt_waker_will_wake(&box->waker, cx)) {
        old = box->waker;
        box->waker = crt_waker_clone(cx);
        box->registered = 1;
    }
    pthread_mutex_unlock(&box->lock);
    crt_waker_drop(&old);
    return r;
}
enum { MAILS = 3000 };
static void *postman(void *arg)
{
    mailbox *box = arg;
    for (int i = 0; i < MAILS; i++) {
        pthread_mutex_lock(&box->lock);
        box->ready++;
        crt_waker w = box->waker;
        if (i % 2) box->waker = (crt_waker){0};
        pthread_mutex_unlock(&box->lock);
        if (i % 2) crt_wake(&w);   // ours now
        else {
            pthread_mutex_lock(&box->lock);   // the task replaces it only under the lock
            crt_wake_by_ref(&box->waker);
            pthread_mutex_unlock(&box->lock);
        }
        if (i % 64 == 0) test_pause_us(50);   // let the task park
    }
    return NULL;
}
typedef struct mail {
    crt_frame co;
    mailbox *box;
    int i;
} mail;
static crt_poll mail_run(void *frame, crt_cx *cx)
{
    mail *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < MAILS; self->i++) CRT_AWAIT(mail_poll(self->box, cx));
    CRT_RETURN(self->i);
    CRT_END;
}
static void no_wake_from_another_thread_is_lost(crt_runtime *rt)
{
    mailbox box = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread;
    mail m = {.box = &box};
    CHECK_EQ(pthread_create(&thread, NULL, postman, &box), 0);
    CHECK_EQ(crt_block_on(rt, mail_run, &m), MAILS);
    pthread_join(thread, NULL);
    crt_waker_drop(&box.waker);
}

typedef struct gives_waker {
    crt_frame co;
    crt_waker *out;
    int n, *given;
} gives_waker;
static crt_poll park_once(gives_waker *self, crt_cx *cx)
{
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    if (*self->given) return 1;
    for (int i = 0; i < self->n; i++) self->out[i] = crt_waker_clone(cx);
    CHECK(crt_waker_will_wake(&self->out[0], cx));
    __atomic_store_n(self->given, 1, __ATOMIC_SEQ_CST);
    return CRT_PENDING;
}
static crt_poll gives_waker_run(void *frame, crt_cx *cx)
{
    gives_waker *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(park_once(self, cx));
    CRT_RETURN(21);
    CRT_END;
}
static void *wakes_many(void *arg)
{
    crt_waker *w = arg;
    for (int i = 0; i < 2000; i++) crt_wake_by_ref(w);
    crt_wake(w);
    CHECK(w->vtable == NULL && w->data == NULL);
    crt_wake(w);   // empty: nothing
    crt_wake_by_ref(w);
    crt_waker_drop(w);
    return NULL;
}
typedef struct waits_given {
    crt_frame co;
    crt_waker wakers[4];
    int given;
    crt_join_handle *join;
    intptr_t result;
    pthread_t threads[4];
} waits_given;
static crt_poll waits_given_run(void *frame, crt_cx *cx)
{
    waits_given *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_join(cx, &self->join, gives_waker_run,
                            &(gives_waker){.out = self->wakers, .n = 4, .given = &self->given}), 0);
    while (!__atomic_load_n(&self->given, __ATOMIC_SEQ_CST)) CRT_YIELD();
    CHECK(!crt_waker_will_wake(&self->wakers[0], cx));   // another task's
    for (int i = 0; i < 4; i++) CHECK_EQ(pthread_create(&self->threads[i], NULL, wakes_many, &self->wakers[i]), 0);
    CRT_AWAIT(crt_join(cx, &self->join, &self->result));
    CRT_RETURN(self->result);
    CRT_END;
}
static void wakes_after_the_end_are_harmless(crt_runtime *rt)
{
    for (int round = 0; round < 5; round++) {
        waits_given w = {.co = {0}};
        CHECK_EQ(crt_block_on(rt, waits_given_run, &w), 21);
        for (int i = 0; i < 4; i++) pthread_join(w.threads[i], NULL);   // some still wake: the task has ended
    }
    crt_runtime_metrics m;
    do crt_metrics(rt, &m);   // counted a moment after the join: none may stay
    while (m.num_alive_tasks && !test_pause_us(100));
}
static void wakers_outlive_the_runtime(void)
{
    for (int flavor = 0; flavor < 2; flavor++) {
        crt_runtime *rt;
        crt_waker wakers[4] = {{0}};
        int given = 0;
        CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = flavor, .worker_threads = 1}, &rt), 0);
        crt_handle *h = crt_runtime_handle(rt);
        crt_join_handle *join;
        CHECK_EQ(crt_handle_spawn_join(h, &join, gives_waker_run, &(gives_waker){.out = wakers, .n = 4, .given = &given}), 0);
        if (flavor == CRT_CURRENT_THREAD) CHECK_EQ(crt_runtime_turn(rt, 0), 1);
        while (!__atomic_load_n(&given, __ATOMIC_SEQ_CST)) test_pause_us(100);
        crt_handle_drop(&h);
        crt_runtime_drop(&rt);   // cancels it
        CHECK_EQ(crt_join_blocking(&join, NULL), CRT_ECANCELED);
        for (int i = 0; i < 4; i++) {
            crt_wake_by_ref(&wakers[i]);
            if (i % 2) crt_wake(&wakers[i]);
            else crt_waker_drop(&wakers[i]);
        }
    }
}
// Wakes that arrive before the next poll make one poll, not many.
typedef struct sink {
    crt_frame co;
    countdown target;
    crt_waker w;
    int i, polls;
} sink;
static crt_waker shared_waker;
static int shared_polls, shared_done;
static crt_poll counts_polls(void *frame, crt_cx *cx)
{
    (void)frame;
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    shared_polls++;
    if (shared_done) return 0;
    if (!shared_waker.vtable) shared_waker = crt_waker_clone(cx);
    return CRT_PENDING;
}
static crt_poll sink_run(void *frame, crt_cx *cx)
{
    sink *self = frame;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn(cx, counts_polls, &(countdown){.left = 0}), 0);
    CRT_YIELD();
    CHECK_EQ(shared_polls, 1);
    for (self->i = 0; self->i < 50; self->i++) crt_wake_by_ref(&shared_waker);
    CRT_YIELD();
    CHECK_EQ(shared_polls, 2);
    shared_done = 1;
    crt_wake(&shared_waker);
    CRT_YIELD();
    CHECK_EQ(shared_polls, 3);
    CRT_END;
}
static void wakes_before_a_poll_are_one_poll(void)
{
    crt_runtime *rt;
    sink s = {.co = {0}};
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt), 0);
    CHECK_EQ(crt_block_on(rt, sink_run, &s), 0);
    crt_runtime_drop(&rt);
}

// --- spawning copies the frame, whatever its size

enum { BIG = 100000 };
typedef struct big {
    crt_frame co;
    unsigned char bytes[BIG];
    long sum;
    int i;
} big;
static crt_poll big_run(void *frame, crt_cx *cx)
{
    big *self = frame;
    CRT_BEGIN(self, cx);
    CRT_YIELD();
    for (self->i = 0; self->i < BIG; self->i++) self->sum += self->bytes[self->i];
    CRT_RETURN(self->sum);
    CRT_END;
}
typedef struct copies {
    crt_frame co;
    crt_join_handle *join[8];
    intptr_t result;
    int i;
} copies;
static crt_poll copies_run(void *frame, crt_cx *cx)
{
    copies *self = frame;
    CRT_BEGIN(self, cx);
    {
        static big b;
        for (self->i = 0; self->i < 8; self->i++) {
            memset(b.bytes, self->i, BIG);
            CHECK_EQ(crt_spawn_join(cx, &self->join[self->i], big_run, &b), 0);
        }
    }
    for (self->i = 0; self->i < 8; self->i++) {
        CRT_AWAIT(crt_join(cx, &self->join[self->i], &self->result));
        CHECK_EQ(self->result, (long)self->i * BIG);
    }
    CRT_END;
}
static void frames_are_copied_before_spawn_returns(crt_runtime *rt)
{
    copies c = {.co = {0}};
    CHECK_EQ(crt_block_on(rt, copies_run, &c), 0);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST(sentinels_lie_below_every_error);
    TEST_ON_EACH(await_takes_int_and_wider);
    TEST_ON_EACH(every_ending_runs_finally_once);
    TEST_ON_EACH(first_panic_message_stays);
    TEST_ON_EACH(finally_is_optional);
    TEST_ON_EACH(children_unwind_before_parents);
    TEST_ON_EACH_WITH(a_finished_frame_is_ready_again, .log.func = test_log);
    TEST_ON_EACH(resume_point_is_the_line_and_is_stored_first);
    TEST_ON_EACH(awaits_work_in_every_statement);
    TEST(an_await_in_a_nested_switch_is_trapped);
    TEST(an_overwritten_frame_is_trapped);
    TEST(abort_does_not_interrupt_a_running_poll);
    TEST_ON_EACH(an_unwind_reaches_every_leaf);
    TEST_ON_EACH(hand_written_polls_are_tasks_and_children);
    TEST_ON_EACH(hand_written_polls_may_panic);
    TEST_ON_EACH(no_wake_from_another_thread_is_lost);
    TEST_ON_EACH(wakes_after_the_end_are_harmless);
    TEST(wakers_outlive_the_runtime);
    TEST(wakes_before_a_poll_are_one_poll);
    TEST_ON_EACH(frames_are_copied_before_spawn_returns);
    return test_end();
}
