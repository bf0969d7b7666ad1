// Every life a task can have, by nested loops:
//
//   spawn kind x poll outcome x panic place x what becomes of the handle x abort when
//   x from which thread x awaits in the cleanup x runtime
//
// The subject writes down what happened to it (did its body run to the end, did it
// panic, was an await of its cleanup cut short); from that follows what the join has to
// say and what has to be in the log. Each life is checked for:
//   * the cleanup ran exactly once;
//   * the result of the join is right, whoever joined and whenever;
//   * a failure that nobody joined is in the log once, anything else not at all;
//   * nothing is left: no task alive, no task memory held, no storage busy.
// The same for jobs of the blocking pool, which have no cleanup.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

#include <pthread.h>
#include <sched.h>

enum { K_JOIN, K_HANDLE, K_STORAGE, K_NAMED, K_LOCAL, KINDS };
enum { O_READY, O_YIELD, O_PARK, O_NEGATIVE, O_PARK_NEGATIVE, OUTCOMES };
enum { P_NONE, P_FIRST_POLL, P_LATER, P_CLEANUP, P_CLEANUP_LATER, PANICS };
enum { H_JOINED, H_JOINED_EARLY, H_DROP_AT_SPAWN, H_DROP_PARKED, H_DROP_AFTER_END, H_DROP_RACING, HANDLES };
enum { A_NEVER, A_AT_SPAWN, A_PARKED, A_IN_CLEANUP, A_AFTER_END, A_RACING, ABORTS };
enum { BY_TASK, BY_THREAD, WHO };
typedef struct life {
    int kind, outcome, panic, handle, abort, who, cleanup_awaits;
} life;

// What happened, as the subject tells it; read once the subject is gone.
enum { S_NEW, S_BEGUN, S_PARKS, S_CLEANS, S_GONE };
typedef struct record {
    int stage;   // atomic
    int begun, body_done, panicked, cut, cleaned;
} record;
static crt_notify gate, cleanup_gate;

typedef struct subject {
    crt_frame co;
    const life *l;
    record *rec;
    crt_poll r;
} subject;
#define STAGE(rec) __atomic_load_n(&(rec)->stage, __ATOMIC_SEQ_CST)
#define SET_STAGE(rec, s) __atomic_store_n(&(rec)->stage, (s), __ATOMIC_SEQ_CST)
static crt_poll subject_run(void *frame, crt_cx *cx)
{
    subject *self = frame;
    CRT_BEGIN(self, cx);
    self->rec->begun++;
    SET_STAGE(self->rec, S_BEGUN);
    if (self->l->panic == P_FIRST_POLL) {
        self->rec->panicked++;
        CRT_PANIC(cx, "BOOM in the first poll");
    }
    if (self->l->outcome == O_YIELD) CRT_YIELD();
    if (self->l->outcome == O_PARK || self->l->outcome == O_PARK_NEGATIVE) {
        SET_STAGE(self->rec, S_PARKS);
        CRT_AWAIT(crt_notified(cx, &gate));
    }
    if (self->l->panic == P_LATER) {
        self->rec->panicked++;
        CRT_PANIC(cx, "BOOM in a later poll");
    }
    self->rec->body_done++;
    CRT_RETURN(self->l->outcome >= O_NEGATIVE ? CRT_ECLOSED : 33);
    CRT_FINALLY
        self->rec->cleaned++;
        if (self->l->panic == P_CLEANUP) {
            self->rec->panicked++;
            SET_STAGE(self->rec, S_GONE);
            CRT_PANIC(cx, "BOOM in the cleanup");
        }
        if (self->l->cleanup_awaits) {
            SET_STAGE(self->rec, S_CLEANS);
            CRT_AWAIT(self->r = crt_notified(cx, &cleanup_gate));
            if (self->r == CRT_UNWIND) self->rec->cut++;
        }
        if (self->l->panic == P_CLEANUP_LATER) {
            self->rec->panicked++;
            SET_STAGE(self->rec, S_GONE);
            CRT_PANIC(cx, "BOOM later in the cleanup");
        }
        SET_STAGE(self->rec, S_GONE);
    CRT_END;
}

// ---------------------------------------------------------------------------
// the other thread: aborts, joins and drops on demand

enum { DO_NOTHING, DO_ABORT, DO_DETACH, DO_ABORT_DETACH, DO_JOIN, DO_QUIT };
static struct actor {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int todo;
    int done;   // atomic
    crt_join_handle **h;
    int code;
    intptr_t result;
} actor;
static void act_now(int what, crt_join_handle **h)
{
    if (what == DO_ABORT || what == DO_ABORT_DETACH) crt_abort(*h);
    if (what == DO_DETACH || what == DO_ABORT_DETACH) crt_detach(h);
    if (what == DO_JOIN) actor.code = crt_join_blocking(h, &actor.result);
}
static void *actor_main(void *arg)
{
    (void)arg;
    for (int what = DO_NOTHING; what != DO_QUIT;) {
        pthread_mutex_lock(&actor.lock);
        while (!actor.todo) pthread_cond_wait(&actor.cond, &actor.lock);
        what = actor.todo;
        actor.todo = 0;
        pthread_mutex_unlock(&actor.lock);
        act_now(what, actor.h);
        __atomic_store_n(&actor.done, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}
static void tell_actor(int what, crt_join_handle **h)
{
    __atomic_store_n(&actor.done, 0, __ATOMIC_SEQ_CST);
    actor.h = h;
    pthread_mutex_lock(&actor.lock);
    actor.todo = what;
    pthread_cond_signal(&actor.cond);
    pthread_mutex_unlock(&actor.lock);
}
static bool actor_is_done(void) { return __atomic_load_n(&actor.done, __ATOMIC_SEQ_CST); }

// ---------------------------------------------------------------------------
// one life

// Between spawn and end: aborts, drops and opens the gates when it is time to.
typedef struct steps {
    crt_frame co;
    const life *l;
    record *rec;
    crt_join_handle **h;
    int spins;
} steps;
static bool is_parked(crt_join_handle *h)
{
    return crt__sits_idle(crt__atomic_load(&((crt_task *)h)->state, CRT__ACQUIRE));
}
// Parked; or gone already, if it was aborted at its spawn.
static bool rests(const steps *s) { return STAGE(s->rec) == S_GONE || is_parked(*s->h); }
// Does it itself, or has the other thread do it and waits for that.
#define ACT(what)                                                                          \
    do {                                                                                   \
        if (self->l->who == BY_TASK || self->l->handle == H_JOINED_EARLY) act_now((what), self->h); \
        else {                                                                             \
            tell_actor((what), self->h);                                                   \
            while (!actor_is_done()) CRT_YIELD();                                          \
        }                                                                                  \
    } while (0)
static crt_poll steps_run(void *frame, crt_cx *cx)
{
    steps *self = frame;
    CRT_BEGIN(self, cx);
    if (self->l->abort == A_AT_SPAWN && self->l->handle != H_JOINED_EARLY) ACT(DO_ABORT);
    if (self->l->handle == H_DROP_AT_SPAWN) ACT(DO_DETACH);
    if (self->l->abort == A_PARKED || self->l->handle == H_DROP_PARKED) {
        while (STAGE(self->rec) < S_PARKS || !rests(self)) CRT_YIELD();
        if (self->l->abort == A_PARKED) ACT(DO_ABORT);
        if (self->l->handle == H_DROP_PARKED) ACT(DO_DETACH);
    }
    // Racing: the other thread acts while the gate opens; or both come before the poll.
    if (self->l->abort == A_RACING || self->l->handle == H_DROP_RACING) {
        int what = self->l->abort == A_RACING ? (self->l->handle == H_DROP_RACING ? DO_ABORT_DETACH : DO_ABORT) : DO_DETACH;
        if (self->l->who == BY_THREAD) tell_actor(what, self->h);
        crt_notify_one(&gate);
        if (self->l->who == BY_TASK) act_now(what, self->h);
    }
    crt_notify_one(&gate);
    if (self->l->abort == A_IN_CLEANUP) {
        while (STAGE(self->rec) < S_CLEANS || !rests(self)) CRT_YIELD();
        ACT(DO_ABORT);
    }
    while (STAGE(self->rec) < S_GONE) {
        if (STAGE(self->rec) == S_CLEANS) crt_notify_one(&cleanup_gate);
        CRT_YIELD();
    }
    if (self->l->who == BY_THREAD && (self->l->abort == A_RACING || self->l->handle == H_DROP_RACING))
        while (!actor_is_done()) CRT_YIELD();
    if (self->l->abort == A_AFTER_END || self->l->handle == H_DROP_AFTER_END) {
        while (!crt_is_finished(*self->h)) CRT_YIELD();
        if (self->l->abort == A_AFTER_END) ACT(DO_ABORT);
        if (self->l->handle == H_DROP_AFTER_END) ACT(DO_DETACH);
    }
    CRT_END;
}

static CRT_TASK_STORAGE(subject) storage;
static crt_handle *handle;
typedef struct lives {
    crt_frame co;
    life l;
    record rec;
    steps s;
    crt_local_set set;
    crt_join_handle *h;
    intptr_t result;
    int code, bad;
    long count, skipped;
    CRT_SELECT(2) sel;
    char message[128];
} lives;
static bool makes_sense(const life *l)
{
    bool parks = (l->outcome == O_PARK || l->outcome == O_PARK_NEGATIVE) && l->panic != P_FIRST_POLL;
    bool cleanup_parks = l->cleanup_awaits && l->panic != P_CLEANUP;
    if ((l->abort == A_PARKED || l->handle == H_DROP_PARKED) && !parks) return false;
    if (l->abort == A_IN_CLEANUP && !cleanup_parks) return false;
    // what is dropped cannot be aborted later
    if (l->handle == H_DROP_AT_SPAWN && l->abort > A_AT_SPAWN) return false;
    if (l->handle == H_DROP_PARKED && l->abort > A_PARKED) return false;
    if (l->handle == H_DROP_RACING && (l->abort == A_IN_CLEANUP || l->abort == A_AFTER_END)) return false;
    // a handle belongs to one thread at a time: abort beside a join only where the
    // subject cannot end meanwhile
    if (l->handle == H_JOINED_EARLY && (l->abort == A_AFTER_END || l->abort == A_RACING)) return false;
    return true;
}
static void tell_of(lives *self, const char *what)
{
    life *l = &self->l;
    fprintf(stderr, "%s: kind %d outcome %d panic %d handle %d abort %d by %d cleanup_awaits %d: %s\n   code %d result %ld; begun %d "
            "body_done %d panicked %d cut %d cleaned %d; log: %s\n", test__name, l->kind, l->outcome, l->panic, l->handle,
            l->abort, l->who, l->cleanup_awaits, what, self->code, (long)self->result, self->rec.begun, self->rec.body_done,
            self->rec.panicked, self->rec.cut, self->rec.cleaned, test_log_text);
    self->bad++;
    __atomic_fetch_add(&test__bad, 1, __ATOMIC_SEQ_CST);
}
static int lines_in_log(void)
{
    int n = 0;
    for (const char *p = test_log_text; *p; p++) n += *p == '\n';
    return n;
}
static int tasks_in_memory(crt_runtime *rt)
{
    int n = 0;
    for (crt_task *t = crt__walk(rt, NULL); t; t = crt__walk(rt, t)) n++;
    return n;
}
static void check_life(lives *self, crt_runtime *rt)
{
    const life *l = &self->l;
    const record *rec = &self->rec;
    bool joined = l->handle <= H_JOINED_EARLY;
    bool cancelled = !rec->panicked && (!rec->body_done || rec->cut);
    bool failed = rec->panicked || (!cancelled && l->outcome >= O_NEGATIVE);
    if (rec->cleaned != 1) tell_of(self, "the cleanup did not run exactly once");
    if (rec->begun > 1 || rec->body_done > 1 || rec->cut > 1 || rec->panicked > 1) tell_of(self, "something ran twice");
    if (joined) {
        int want = rec->panicked ? CRT_EPANIC : cancelled ? CRT_ECANCELED : 0;
        if (self->code != want) tell_of(self, "wrong code");
        if (want == 0 && self->result != (l->outcome >= O_NEGATIVE ? CRT_ECLOSED : 33)) tell_of(self, "wrong result");
        if (want != 0 && self->result != -1) tell_of(self, "the result was touched");
        if (rec->panicked && !strstr(self->message, "BOOM")) tell_of(self, "no panic message");
    }
    // what must have happened, whatever the timing
    if (l->abort == A_NEVER || l->abort == A_AFTER_END) {
        if (cancelled) tell_of(self, "cancelled, though nobody aborted it in time");
        if (l->panic && !rec->panicked) tell_of(self, "it should have panicked");
    }
    if (l->abort == A_PARKED && rec->body_done) tell_of(self, "an abort of a parked task had no effect");
    if (l->abort == A_IN_CLEANUP && !rec->panicked && !cancelled) tell_of(self, "an abort in the cleanup had no effect");
    if (l->abort == A_AT_SPAWN && l->who == BY_TASK && (!crt__is_multi(rt) || l->kind == K_LOCAL) && rec->begun)
        tell_of(self, "aborted before its first poll, and yet it began");
    int want_lines = failed && !joined ? 1 : 0;
    if (lines_in_log() != want_lines) tell_of(self, "wrong number of log lines");
    if (want_lines && !strstr(test_log_text, rec->panicked ? "BOOM" : "CRT_ECLOSED")) tell_of(self, "the log does not say why");
    if (want_lines && l->kind == K_NAMED && !strstr(test_log_text, "subject-name")) tell_of(self, "the log does not say who");
}
static int spawn_subject(lives *self, crt_cx *cx)
{
    subject frame = {.l = &self->l, .rec = &self->rec};
    switch (self->l.kind) {
    case K_HANDLE: return crt_handle_spawn_join(handle, &self->h, subject_run, &frame);
    case K_STORAGE: return crt_spawn_in(cx, &storage, &self->h, subject_run, &frame);
    case K_LOCAL: return crt_local_set_spawn_join(cx, &self->set, &self->h, subject_run, &frame);
    case K_NAMED: {
        crt_task_desc d = {.fn = subject_run, .frame = &frame, .size = sizeof frame, .name = "subject-name", .join = &self->h};
        return crt_spawn_ex(cx, &d);
    }
    default: return crt_spawn_join(cx, &self->h, subject_run, &frame);
    }
}
static bool next_life(life *l)
{
    if (++l->cleanup_awaits < 2) return true;
    l->cleanup_awaits = 0;
    if (++l->who < WHO) return true;
    l->who = 0;
    if (++l->abort < ABORTS) return true;
    l->abort = 0;
    if (++l->handle < HANDLES) return true;
    l->handle = 0;
    if (++l->panic < PANICS) return true;
    l->panic = 0;
    if (++l->outcome < OUTCOMES) return true;
    l->outcome = 0;
    return ++l->kind < KINDS;
}
static crt_poll lives_run(void *frame, crt_cx *cx)
{
    lives *self = frame;
    CRT_BEGIN(self, cx);
    while (crt__alive(cx->rt) > 1) CRT_YIELD();
    do {
        if (!makes_sense(&self->l)) {
            self->skipped++;
            continue;
        }
        self->count++;
        memset(&self->rec, 0, sizeof self->rec);
        memset(&gate, 0, sizeof gate);
        memset(&cleanup_gate, 0, sizeof cleanup_gate);
        memset(&self->set, 0, sizeof self->set);   // its first spawn pins it to this worker
        test_log_clear();
        crt__atomic_store(&cx->rt->failures, 0, CRT__RELAXED);   // the log counts them
        self->code = -1;
        self->result = -1;
        self->message[0] = 0;
        if (spawn_subject(self, cx)) {
            tell_of(self, "cannot spawn");
            CRT_RETURN(1);
        }
        self->s = (steps){.l = &self->l, .rec = &self->rec, .h = &self->h};
        if (self->l.handle == H_JOINED_EARLY) {
            if (self->l.abort == A_AT_SPAWN) crt_abort(self->h);
            if (self->l.who == BY_THREAD) {
                actor.result = -1;
                tell_actor(DO_JOIN, &self->h);
                CRT_AWAIT(steps_run(&self->s, cx));
                while (!actor_is_done()) CRT_YIELD();
                self->code = actor.code;
                self->result = actor.result;
            } else {
                CRT_AWAIT(crt_join_all(cx, &self->sel,
                    crt_on(cx, 0, self->code = (int)crt_join(cx, &self->h, &self->result)),
                    crt_on(cx, 1, steps_run(&self->s, cx))));
            }
        } else {
            CRT_AWAIT(steps_run(&self->s, cx));
            if (self->l.handle == H_JOINED && self->l.who == BY_THREAD) {
                actor.result = -1;
                tell_actor(DO_JOIN, &self->h);
                while (!actor_is_done()) CRT_YIELD();
                self->code = actor.code;
                self->result = actor.result;
            } else if (self->l.handle == H_JOINED) {
                CRT_AWAIT(self->code = (int)crt_join(cx, &self->h, &self->result));
            }
        }
        if (self->h) {   // it panicked, and the handle stayed
            snprintf(self->message, sizeof self->message, "%s", crt_join_panic_message(self->h));
            crt_detach(&self->h);
        }
        while (crt__alive(cx->rt) > 1) CRT_YIELD();
        check_life(self, cx->rt);
        if (tasks_in_memory(cx->rt) != 1) tell_of(self, "its memory is still held");
        if (crt_task_storage_busy(&storage)) tell_of(self, "its storage is still busy");
        CRT_AWAIT(crt_local_set_join(cx, &self->set));
        if (self->bad > 5) CRT_RETURN(1);
    } while (next_life(&self->l));
    CRT_END;
}
static long lived;
static void every_life(crt_runtime *rt)
{
    static lives all;
    crt_runtime_metrics before, after;
    memset(&all, 0, sizeof all);
    memset(&storage, 0, sizeof storage);
    handle = crt_runtime_handle(rt);
    crt_metrics(rt, &before);
    CHECK_EQ(crt_block_on(rt, lives_run, &all), 0);
    crt_metrics(rt, &after);
    CHECK_EQ(after.spawned_tasks_count - before.spawned_tasks_count, all.count + 1);
    CHECK(after.bytes_allocated < before.bytes_allocated + 300000);   // a few chunks, not one for each life
    CHECK(all.count > 9000);   // the loops do what they say
    lived += all.count;
    crt_handle_drop(&handle);
}

// ---------------------------------------------------------------------------
// jobs of the blocking pool: result x when aborted x what becomes of the handle x who

enum { J_NEVER, J_QUEUED, J_RUNNING, J_ENDED, J_ABORTS };
enum { JH_JOINED, JH_DROP_AT_SPAWN, JH_DROP_AFTER_END, JH_HANDLES };
typedef struct jobs {
    crt_frame co;
    int value, abort, handle, who, by_handle;
    int go, begun, ended;   // atomic
    crt_join_handle *h, *plug;
    int plug_go, plug_begun;   // atomic
    intptr_t result;
    int code, bad, count;
} jobs;
static intptr_t job(void *arg)
{
    jobs *j = arg;
    __atomic_fetch_add(&j->begun, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&j->go, __ATOMIC_SEQ_CST)) test_pause_us(20);
    __atomic_fetch_add(&j->ended, 1, __ATOMIC_SEQ_CST);
    return j->value ? CRT_ECLOSED : 44;
}
static intptr_t plug(void *arg)   // keeps the only thread of the pool busy
{
    jobs *j = arg;
    __atomic_store_n(&j->plug_begun, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&j->plug_go, __ATOMIC_SEQ_CST)) test_pause_us(20);
    return 0;
}
#define JOB_ACT(what)                                                                      \
    do {                                                                                   \
        if (self->who == BY_TASK) act_now((what), &self->h);                               \
        else {                                                                             \
            tell_actor((what), &self->h);                                                  \
            while (!actor_is_done()) CRT_YIELD();                                          \
        }                                                                                  \
    } while (0)
#define LOAD(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
static crt_poll jobs_run(void *frame, crt_cx *cx)
{
    jobs *self = frame;
    CRT_BEGIN(self, cx);
    for (self->count = 0; self->count < 2 * J_ABORTS * JH_HANDLES * WHO * 2; self->count++) {
        self->value = self->count % 2;
        self->abort = self->count / 2 % J_ABORTS;
        self->handle = self->count / 2 / J_ABORTS % JH_HANDLES;
        self->who = self->count / 2 / J_ABORTS / JH_HANDLES % WHO;
        self->by_handle = self->count / 2 / J_ABORTS / JH_HANDLES / WHO;
        if (self->handle == JH_DROP_AT_SPAWN && self->abort > J_QUEUED) continue;
        self->go = self->begun = self->ended = self->plug_go = self->plug_begun = 0;
        self->code = -1;
        self->result = -1;
        test_log_clear();
        CHECK_EQ(crt_spawn_blocking(cx, &self->plug, plug, self), 0);
        while (!LOAD(&self->plug_begun)) CRT_YIELD();
        if (self->by_handle) CHECK_EQ(crt_handle_spawn_blocking(handle, &self->h, job, self), 0);
        else CHECK_EQ(crt_spawn_blocking(cx, &self->h, job, self), 0);
        if (self->abort == J_QUEUED) JOB_ACT(DO_ABORT);
        if (self->handle == JH_DROP_AT_SPAWN) JOB_ACT(DO_DETACH);
        __atomic_store_n(&self->plug_go, 1, __ATOMIC_SEQ_CST);
        CRT_AWAIT(crt_join(cx, &self->plug, NULL));
        if (self->abort != J_QUEUED) {
            while (!LOAD(&self->begun)) CRT_YIELD();
            if (self->abort == J_RUNNING) JOB_ACT(DO_ABORT);
            __atomic_store_n(&self->go, 1, __ATOMIC_SEQ_CST);
            while (!LOAD(&self->ended)) CRT_YIELD();
        }
        if (self->abort == J_ENDED || self->handle == JH_DROP_AFTER_END) {
            while (!crt_is_finished(self->h)) CRT_YIELD();
            if (self->abort == J_ENDED) JOB_ACT(DO_ABORT);
            if (self->handle == JH_DROP_AFTER_END) JOB_ACT(DO_DETACH);
        }
        if (self->handle == JH_JOINED && self->who == BY_THREAD) {
            actor.result = -1;
            tell_actor(DO_JOIN, &self->h);
            while (!actor_is_done()) CRT_YIELD();
            self->code = actor.code;
            self->result = actor.result;
        } else if (self->handle == JH_JOINED) {
            CRT_AWAIT(self->code = (int)crt_join(cx, &self->h, &self->result));
        }
        if (self->handle == JH_JOINED) {
            CHECK_EQ(self->code, self->abort == J_QUEUED ? CRT_ECANCELED : 0);
            CHECK_EQ(self->result, self->abort == J_QUEUED ? -1 : self->value ? CRT_ECLOSED : 44);
        }
        CHECK(self->h == NULL);
        CHECK_EQ(LOAD(&self->begun), self->abort == J_QUEUED ? 0 : 1);
        while (LOAD(&cx->rt->pool.outstanding)) CRT_YIELD();
        while (tasks_in_memory(cx->rt) > 1) CRT_YIELD();   // the pool's thread lets go of it
        CHECK_EQ(lines_in_log(), 0);
    }
    CRT_END;
}
static void every_job(crt_runtime *rt)
{
    static jobs j;
    memset(&j, 0, sizeof j);
    handle = crt_runtime_handle(rt);
    CHECK_EQ(crt_block_on(rt, jobs_run, &j), 0);
    crt_handle_drop(&handle);
}

// ---------------------------------------------------------------------------
// the same moments, but at random and many at once, while the runtime shuts down:
// whatever a task was doing, its cleanup runs once and its handle gives an answer

enum { CROWD = 200 };
typedef struct crowd {
    life l[CROWD];
    record rec[CROWD];
    crt_join_handle *h[CROWD];
} crowd;
static void shutdown_at_any_moment(void)
{
    static const int workers[] = {0, 1, 4};
    static crowd c;
    unsigned seed = 1;
    for (int round = 0; round < 30; round++) {
        crt_runtime *rt;
        memset(&c, 0, sizeof c);
        memset(&gate, 0, sizeof gate);
        memset(&cleanup_gate, 0, sizeof cleanup_gate);
        test_log_clear();
        crt_config config = {.flavor = !workers[round % 3], .worker_threads = workers[round % 3], .log.func = test_log};
        CHECK_EQ(crt_runtime_new(&config, &rt), 0);
        crt_handle *h = crt_runtime_handle(rt);
        for (int i = 0; i < CROWD; i++) {
            c.l[i] = (life){.outcome = (int)(rand_r(&seed) % OUTCOMES), .panic = (int)(rand_r(&seed) % PANICS)};
            CHECK_EQ(crt_handle_spawn_join(h, &c.h[i], subject_run, &(subject){.l = &c.l[i], .rec = &c.rec[i]}), 0);
            if (i % 5 == 0) crt_abort(c.h[i]);
            if (i % 7 == 0) crt_notify_one(&gate);
            if (i == 100 && round % 3 == 0) crt_runtime_turn(rt, 0);
        }
        crt_runtime_drop(&rt);
        for (int i = 0; i < CROWD; i++) {
            intptr_t result = -1;
            bool cancelled = !c.rec[i].panicked && !c.rec[i].body_done;
            int want = c.rec[i].panicked ? CRT_EPANIC : cancelled ? CRT_ECANCELED : 0;
            CHECK_EQ(c.rec[i].cleaned, 1);
            CHECK(crt_is_finished(c.h[i]));
            CHECK_EQ(crt_join_blocking(&c.h[i], &result), want);
            if (!want) CHECK_EQ(result, c.l[i].outcome >= O_NEGATIVE ? CRT_ECLOSED : 33);
            crt_detach(&c.h[i]);
        }
        CHECK_EQ(lines_in_log(), 0);   // all were joined
        crt_handle_drop(&h);
    }
}

// What stands in a queue when nothing runs any more is ended by force.
static crt_poll never_run(void *frame, crt_cx *cx)
{
    (void)frame, (void)cx;
    CHECK(!"it runs");
    return 0;
}
static void what_nobody_has_taken_is_ended(void)
{
    crt_runtime *rt;
    crt_join_handle *join[3];
    int frame = 0;
    CHECK_EQ(crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD, .log.func = test_log}, &rt), 0);
    crt_handle *h = crt_runtime_handle(rt);
    for (int i = 0; i < 3; i++) CHECK_EQ(crt_handle_spawn_join(h, &join[i], never_run, &frame), 0);
    CHECK_EQ(crt__end_leftovers(rt), 3);
    for (int i = 0; i < 3; i++) {
        CHECK(crt_is_finished(join[i]));
        CHECK_EQ(crt_join_blocking(&join[i], NULL), CRT_ECANCELED);
        crt_detach(&join[i]);
    }
    crt_handle_drop(&h);
    crt_runtime_drop(&rt);
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    pthread_mutex_init(&actor.lock, NULL);
    pthread_cond_init(&actor.cond, NULL);
    pthread_create(&actor.thread, NULL, actor_main, NULL);
    TEST_ON_EACH_WITH(every_life, .log.func = test_log);
    TEST_ON_EACH_WITH(every_job, .log.func = test_log, .max_blocking_threads = 1);
    TEST(shutdown_at_any_moment);
    TEST(what_nobody_has_taken_is_ended);
    tell_actor(DO_QUIT, NULL);
    pthread_join(actor.thread, NULL);
    fprintf(stderr, "%ld lives\n", lived);
    return test_end();
}
