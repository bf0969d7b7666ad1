// Random programs. One seed is one program of crt's public API: a tree of steps for each task (waits, locks, channels,
// selects, time-outs, groups, jobs, streams), on one to three runtimes, and how all of it ends: everybody by himself,
// by a shutdown that waits, or by one that does not.
//
//   test_programs                 1000 seeds
//   SEEDS=100000 test_programs    more; FIRST=5000 begins there
//   SEED=17 test_programs         that one; TIMES=100: as often. A failure prints this command
//   WORLD=alone test_programs     only programs of the first kind below; WORLD=threads: of the second
//
// Three of four seeds are alone: one runtime of the current thread with the virtual clock, and no other thread. Such a
// seed does the same each time, with any compiler (not on Windows, whose pairs of streams go through TCP). Whenever
// nothing is ready, and before the clock goes on, all who wait are looked at: nobody waits for what is there, or for
// what has been (a wake that was lost), and nobody is late. Where threads cannot be counted (Windows) all are alone.
// The others have workers (one, two, four), threads that drive a runtime of the current thread by turns or over its
// poll descriptor, plain threads that meddle, and jobs. There the seed gives the program, but the schedule is the
// machine's: a failure may need TIMES. It hangs if it has not ended after half a minute (TEST_SLOW: ten times that).
//
// Checked all the time: every call gives an answer that is allowed; values arrive once, whole and in order; no lock is
// held twice; no timer is early; cleanup runs once, the children's before the parent's; a group's tasks end before it
// does. At the end: nothing holds or waits for anything, permits are back, each value was received or dropped, hooks
// came in pairs, no task, timer, thread, descriptor or memory is left. One in six programs gets no memory now and then.
//
// A new kind of step: a function, a line in kinds[], and in what_is_there() what its wait is for.
#include <stddef.h>
static void *counted_malloc(size_t n);
static void counted_free(void *p);
#define CRT_MALLOC(n) counted_malloc(n)
#define CRT_FREE(p) counted_free(p)
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#include <pthread.h>
#include <stdarg.h>
#ifndef _WIN32
#include <poll.h>
#endif

#define GET(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define SET(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
#define ADD(p, n) __atomic_add_fetch((p), (n), __ATOMIC_SEQ_CST)
#define SWAP(p, v) __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)

// ---- the world ----------------------------------------------------------------------

enum { LETTERS = 1 << 12, STREAMS = 1 << 12, POOL = 16, RUNTIMES = 3, OF_EACH = 3, CHANNELS = 3, TOKENS = 5, KIDS = 4 };
enum ending { BY_ITSELF, BY_SHUTDOWN, BY_FORCE };

// What is sent: who it is from and its number there, and its complement, so that one which is torn shows.
typedef struct letter { uint32_t id, number, from, check; } letter;
typedef struct step step;
// What is known of a task, beside what crt knows.
typedef struct record {
    struct record *next;
    int id, spawned, starts, ends, ended, panicked, has_local, local_drops, in_block_on, has_result;
    intptr_t result;
    void *storage;
    step *group;
} record;

static struct {
    uint32_t seed;
    bool alone, turns, faulty;
    enum ending ending;
    uint64_t made, trace;
    int runtimes, steps_left;
    crt_runtime *rt[RUNTIMES];
    crt_handle *handle[RUNTIMES];
    crt_config config[RUNTIMES];
    int open[RUNTIMES], drivers[RUNTIMES];   // takes tasks of others; threads that drive it
    int closing, stop;
    long polls, jobs;                        // that go on now
    int failures;
    step *steps;
    record *records;
    int record_count;
    // what the steps share
    crt_mutex mutex[OF_EACH];
    crt_rwlock rwlock[OF_EACH];
    crt_semaphore sem[OF_EACH];
    crt_notify notify[OF_EACH];
    crt_once_cell once[OF_EACH];
    crt_barrier barrier;
    crt_mpsc_tx *tx[CHANNELS];
    crt_mpsc_rx *rx[CHANNELS];
    crt_broadcast_tx *news;
    crt_watch_tx *watched;
    crt_cancel_token *token[TOKENS], *done;  // the first is the others' parent
    size_t permits[OF_EACH];
    long inside[OF_EACH], readers[OF_EACH], plain[OF_EACH], once_value[OF_EACH];   // plain: TSan looks after it
    int reading[CHANNELS], making[OF_EACH];  // somebody has the rx, makes the value of once
    uint32_t barrier_size, news_sent, watch_sent;
    pthread_mutex_t lock;                    // over tx, news and watched
    // what is left about for others to meddle with
    struct {
        pthread_mutex_t lock;
        crt_join_handle *join;
        record *who;
        crt_abort_handle *abort;
        crt_waker waker;
    } pool[POOL];
    // letters: sent == received + dropped, each; the last number that came from each sender
    struct { int sent, received, dropped; } letters[LETTERS];
    uint32_t letter_count, sender_count, last_from[STREAMS];
    long news_alive, watch_alive;
    long spawned, terminated, thread_starts, thread_stops, parks, unparks, befores, afters, logs;
} W;
static FILE *nowhere;   // where dumps go

// Of what goes on in a program alone: two runs of it are the same.
static void note(uint64_t what, int64_t value)
{
    if (W.alone) W.trace = (W.trace ^ what ^ (uint64_t)value << 20) * 0x100000001b3u;
}
__attribute__((format(printf, 1, 2))) static void fail(const char *format, ...)
{
    char text[300];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    ADD(&test__bad, 1);
    if (ADD(&W.failures, 1) <= 20) fprintf(stderr, "seed %u: %s\n", W.seed, text);
}
// An answer that is not among those allowed.
static void expect(bool allowed, const char *what, crt_poll r)
{
    if (!allowed) fail("%s gave %s (%ld)", what, crt_err_name((int)r), (long)r);
}

// ---- chance, memory -------------------------------------------------------------------

static uint32_t draw(uint64_t *s, uint32_t below)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return (uint32_t)(*s * 0x2545F4914F6CDD1Dull >> 33) % below;
}
static uint32_t made(uint32_t below) { return draw(&W.made, below); }   // while the program is being made
static _Thread_local uint64_t thread_chance;
static uint64_t threads_met;
static uint32_t chance(uint32_t below)   // while it runs: each thread has its own
{
    if (!thread_chance) thread_chance = 0x9E3779B97F4A7C15ull * ADD(&threads_met, 1) + 88172645463325252ull;
    return draw(&thread_chance, below);
}

static long blocks;      // of memory that crt has now
static int fault_rate;   // one allocation in so many fails; 0: none
static void *counted_malloc(size_t n)
{
    int rate = GET(&fault_rate);
    if (rate && chance((uint32_t)rate) == 0) return NULL;
    void *p = malloc(n);
    if (p) ADD(&blocks, 1);
    return p;
}
static void counted_free(void *p)
{
    if (p) ADD(&blocks, -1);
    free(p);
}
// What the program itself needs lasts until its end: a task that is ended by force may point at it.
typedef struct chunk { struct chunk *next; } chunk;
static chunk *arena;
static pthread_mutex_t arena_lock = PTHREAD_MUTEX_INITIALIZER;
static void *lasting(size_t n)
{
    chunk *c = calloc(1, n + 32);
    if (!c) abort();
    pthread_mutex_lock(&arena_lock);
    c->next = arena;
    arena = c;
    pthread_mutex_unlock(&arena_lock);
    return (void *)(((uintptr_t)c + sizeof *c + 15) & ~(uintptr_t)15);
}
static void arena_clear(void)
{
    for (chunk *c; (c = arena); free(c)) arena = c->next;
}

// ---- steps ----------------------------------------------------------------------------

// What a step waits for; what_is_there() knows when it is there.
enum wait { FOR_NOTHING, FOR_LETTER, FOR_ROOM, FOR_NO_READER, FOR_NEWS, FOR_CHANGE, FOR_PERMITS, FOR_MUTEX, FOR_RWLOCK,
    FOR_NOTICE, FOR_ONCE, FOR_TOKEN, FOR_JOIN, FOR_ONESHOT, FOR_TIME, FOR_BARRIER, FOR_BYTES, FOR_SCOPE, FOR_GROUP };
// What a kind of step is, or what it asks of the steps in it.
enum { WAITS = 1, LOCKS = 2, SPAWNS = 4, PANICS = 8, ONCE = 16, JOBS = 32, THREADS = 64,   // what it does
    BOUND = 128, BOUND_REST = 256, SHALLOW = 512, BODY = 1024,   // of its kids: end in time (the first too); are small
    NO_SPAWN = 4096 };

typedef struct kind {
    const char *name;
    crt_poll (*run)(step *self, crt_cx *cx);
    int least, most;   // kids
    uint32_t flags;
} kind;
struct step {
    crt_frame co;
    const kind *kind;
    step *next, *kid[KIDS], *body, *owner;   // body: a frame of its own inside; its owner
    int id, kids;
    uint32_t a, b;                           // whatever the kind makes of them
    // while it runs
    bool running;
    enum wait waits;
    int held, used, tries, polls;
    int born, ended, body_done, told;        // of the tasks in it; the oneshot's sender is done
    uint32_t i, seen, wrote, read_to;
    crt_instant due;
    crt_poll r, arm[4], clean;
    CRT_SELECT(2) two;
    CRT_SELECT(4) four;
    crt_timer timer;
    crt_until until;
    crt_scope scope;
    crt_join_set set;
    crt_join_map map;
    crt_local_set locals;
    crt_local_scope with;
    crt_interval interval;
    crt_delay_queue queue;
    crt_delay delay[3], *came;
    crt_task_tracker *tracker;
    crt_join_handle *join;
    record *who;
    crt_oneshot_tx *otx;
    crt_oneshot_rx *orx;
    crt_mpsc_tx *tx;
    crt_broadcast_rx *brx;
    crt_watch_rx *wrx;
    crt_stream *mine, *theirs;
    crt_waker waker;
    letter letter, some[4];
    unsigned char bytes[128];
    int fd[2];
    intptr_t result;
    uint64_t key;
};
#define AWAIT(what, ...) CRT_AWAIT(self->r = waiting(self, (what), (__VA_ARGS__)))

static crt_poll run(step *s, crt_cx *cx)
{
    crt_poll r = s->kind->run(s, cx);
    s->running = r == CRT_PENDING;
    note((uint64_t)s->id, r);
    return r;
}
static crt_poll waiting(step *s, enum wait what, crt_poll r)
{
    s->waits = r == CRT_PENDING ? what : FOR_NOTHING;
    return r;
}
static step *new_step(const kind *k)
{
    step *s = lasting(sizeof *s);
    s->kind = k;
    s->a = made(1 << 20);
    s->b = made(1 << 20);
    s->next = W.steps;
    s->id = W.steps ? W.steps->id + 1 : 1;
    W.steps = s;
    return s;
}
static bool by_force(void) { return W.ending == BY_FORCE; }
static uint32_t which(const step *s) { return s->a % OF_EACH; }
static crt_duration some_time(const step *s, uint32_t most_us) { return CRT_US(s->a % most_us); }
// A time-out that the clock does not bear out.
static void check_due(step *s, crt_cx *cx)
{
    crt_instant now = crt_now(cx);
    if (now < s->due) fail("step %d, %s: %lld ns early", s->id, s->kind->name, (long long)(s->due - now));
}

// ---- letters --------------------------------------------------------------------------

static letter new_letter(uint32_t from, uint32_t number)
{
    letter l = {.id = ADD(&W.letter_count, 1) % LETTERS, .number = number, .from = from};
    l.check = ~(l.id ^ l.number ^ l.from);
    return l;
}
static bool is_whole(const char *where, letter l)
{
    bool whole = l.id < LETTERS && l.check == ~(l.id ^ l.number ^ l.from);
    if (!whole) fail("%s: a letter is torn", where);
    return whole;
}
static void sent(letter l) { ADD(&W.letters[l.id].sent, 1); }
static void received(letter l)
{
    if (is_whole("received", l)) ADD(&W.letters[l.id].received, 1);
}
static uint32_t new_sender(void) { return ADD(&W.sender_count, 1); }
// Those of one sender come in the order in which they were sent, whoever reads.
static void received_in_order(letter l)
{
    received(l);
    if (l.from >= STREAMS) return;
    uint32_t before = SWAP(&W.last_from[l.from], l.number);
    if (before >= l.number) fail("letter %u of sender %u came after %u", l.number, l.from, before);
}
static void meddle(crt_cx *cx);
static void letter_dropped(void *elem, void *user)
{
    letter l;
    (void)user;
    memcpy(&l, elem, sizeof l);
    if (is_whole("dropped", l)) ADD(&W.letters[l.id].dropped, 1);
    if (chance(4) == 0) meddle(NULL);
}
static void value_cloned(void *copy, void *alive) { (void)copy, ADD((long *)alive, 1); }
static void value_dropped(void *elem, void *alive) { (void)elem, ADD((long *)alive, -1); }

// ---- tasks ----------------------------------------------------------------------------

typedef struct task {
    crt_frame co;
    step *body, *cleanup;
    record *who;
    crt_poll r;
    uint32_t mark;   // whether the frame is still as it was
} task;
static crt_task_local who_key = {"who"}, with_key = {"with"};
enum { MARK = 0x600dcafe };

static record *new_record(step *group)
{
    record *r = lasting(sizeof *r);
    r->group = group;
    pthread_mutex_lock(&arena_lock);
    r->id = W.record_count++;
    r->next = W.records;
    W.records = r;
    pthread_mutex_unlock(&arena_lock);
    return r;
}
static task new_task(step *body, step *cleanup, step *group)
{
    return (task){.body = body, .cleanup = cleanup, .who = new_record(group), .mark = MARK};
}
static intptr_t result_of(const record *who) { return who->id * 4 + 1; }
static void will_panic(crt_cx *cx)
{
    record *who = crt_task_local_get(cx, &who_key);
    if (who) SET(&who->panicked, 1);
}
static void local_dropped(void *value)
{
    ADD(&((record *)value)->local_drops, 1);
    if (chance(4) == 0) meddle(NULL);
}
static void begins(record *who)
{
    if (ADD(&who->starts, 1) != 1) fail("task %d began twice", who->id);
}
static void cleans_up(record *who)
{
    if (ADD(&who->ends, 1) != 1) fail("task %d cleaned up twice", who->id);
}
static void has_ended(record *who)
{
    if (who->group) ADD(&who->group->ended, 1);
    ADD(&who->ended, 1);
}
static crt_poll task_body(task *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    begins(self->who);
    if (crt_task_local_set(cx, &who_key, self->who, local_dropped) == 0) self->who->has_local = 1;
    CRT_AWAIT(self->r = run(self->body, cx));
    self->who->result = result_of(self->who);
    self->who->has_result = 1;
    CRT_RETURN(result_of(self->who));
    CRT_FINALLY
        if (self->mark != MARK) fail("task %d: its frame was written over", self->who->id);
        if (self->who->starts && self->body->running) fail("task %d cleans up before its child", self->who->id);
        cleans_up(self->who);
        if (self->cleanup && self->who->starts) CRT_AWAIT(self->r = run(self->cleanup, cx));
        has_ended(self->who);
    CRT_END;
}
static crt_poll task_run(void *frame, crt_cx *cx)
{
    ADD(&W.polls, 1);
    crt_poll r = task_body(frame, cx);
    ADD(&W.polls, -1);
    return r;
}
// Counts a task that is about to be spawned; counted() takes that back where it failed.
static void is_spawned(record *who)
{
    ADD(&who->spawned, 1);
    if (who->group) ADD(&who->group->born, 1);
}
static bool counted(int r, record *who)
{
    if (r >= 0) return true;
    ADD(&who->spawned, -1);
    if (who->group) ADD(&who->group->born, -1);
    expect(r == CRT_ESHUTDOWN || (r == CRT_ECANCELED && who->group) || (r == CRT_ENOMEM && W.faulty), "a spawn", r);
    return false;
}
static void check_join(crt_poll r, intptr_t result, const record *who)
{
    expect(r == 0 || r == CRT_EPANIC || r == CRT_ECANCELED, "a join", r);
    if (!who) return;
    if (r == 0 && (!who->has_result || result != who->result)) fail("task %d gave %ld", who->id, (long)result);
    if (r == 0 && who->ended != 1) fail("task %d was joined before its end", who->id);
    if (r == CRT_EPANIC && !GET(&who->panicked) && !W.faulty) fail("task %d panicked of itself", who->id);
}
static int runtime_of(const crt_cx *cx)
{
    for (int i = 0; i < W.runtimes; i++) if (W.rt[i] == cx->rt) return i;
    return 0;
}
static int some_runtime(const crt_cx *cx)   // one that takes tasks
{
    int i = (int)chance((uint32_t)W.runtimes);
    return GET(&W.open[i]) ? i : runtime_of(cx);
}

// ---- what is left about, and meddling with it -----------------------------------------

static bool pool_try(uint32_t i) { return pthread_mutex_trylock(&W.pool[i].lock) == 0; }
static void pool_leave(uint32_t i) { pthread_mutex_unlock(&W.pool[i].lock); }
static void let_go(crt_join_handle *h, bool abort)
{
    if (h && abort) crt_abort(h);
    crt_detach(&h);
}
static void give_handle(crt_join_handle *h, record *who)
{
    uint32_t i = chance(POOL);
    if (chance(3) == 0 || !pool_try(i)) {
        let_go(h, chance(3) == 0);
        return;
    }
    crt_join_handle *old = W.pool[i].join;
    W.pool[i].join = h;
    W.pool[i].who = who;
    pool_leave(i);
    let_go(old, chance(2));
}
static crt_join_handle *take_handle(record **who)
{
    uint32_t i = chance(POOL);
    if (!pool_try(i)) return NULL;
    crt_join_handle *h = W.pool[i].join;
    *who = W.pool[i].who;
    W.pool[i].join = NULL;
    pool_leave(i);
    return h;
}
static void give_abort_handle(crt_join_handle *h)
{
    crt_abort_handle *a = chance(2) ? NULL : crt_join_abort_handle(h);
    uint32_t i = chance(POOL);
    if (a && pool_try(i)) {
        crt_abort_handle *old = W.pool[i].abort;
        W.pool[i].abort = a;
        a = old;
        pool_leave(i);
    }
    crt_abort_handle_drop(&a);
}
static void give_waker(crt_waker w)   // who is pushed out is woken: none is forgotten
{
    uint32_t i = chance(POOL);
    if (pool_try(i)) {
        crt_waker old = W.pool[i].waker;
        W.pool[i].waker = w;
        w = old;
        pool_leave(i);
    }
    crt_wake(&w);
}
static void meddle_with_a_task(uint32_t i)
{
    crt_abort_handle *a = W.pool[i].abort;
    crt_join_handle *h = W.pool[i].join;
    if (a && chance(2)) {
        crt_abort_handle_abort(a);
        (void)crt_abort_handle_is_finished(a);
        if (chance(2)) crt_abort_handle_drop(&W.pool[i].abort);
    } else if (h) {
        if (chance(2)) crt_abort(h);
        (void)crt_is_finished(h);
        (void)crt_join_id(h);
    }
}
static void meddle_with_a_waker(uint32_t i)
{
    for (uint32_t n = chance(4); n--;) crt_wake_by_ref(&W.pool[i].waker);
    if (chance(2)) crt_wake(&W.pool[i].waker);
}
static void meddle_with_locks(uint32_t k)
{
    if (crt_mutex_try_lock(&W.mutex[k]) == 0) {
        if (ADD(&W.inside[k], 1) != 1) fail("mutex %u: two inside", k);
        W.plain[k]++;
        ADD(&W.inside[k], -1);
        crt_mutex_unlock(&W.mutex[k]);
    }
    if (crt_semaphore_try_acquire(&W.sem[k], 1) == 0) crt_semaphore_release(&W.sem[k], 1);
}
static void meddle_with_a_channel(void)
{
    uint32_t c = chance(CHANNELS);
    if (pthread_mutex_trylock(&W.lock)) return;
    letter l = new_letter(STREAMS, 1);
    if (W.tx[c] && crt_mpsc_try_send(W.tx[c], &l) == 0) sent(l);
    pthread_mutex_unlock(&W.lock);
}
static void ring(uint32_t k)
{
    switch (chance(3)) {
    case 0: crt_notify_one(&W.notify[k]); break;
    case 1: crt_notify_last(&W.notify[k]); break;
    default: crt_notify_waiters(&W.notify[k]);
    }
}
// What a task may ask or do beside its waits; some of it is misuse, which is to be refused.
static void meddle_inside(crt_cx *cx)
{
    crt_runtime_metrics m;
    crt_runtime *rt = cx->rt;
    crt_handle *h;
    crt_waker w;
    char text[300];
    switch (chance(9)) {
    case 0: CHECK_EQ(crt_metrics(rt, &m), 0); break;
    case 1: (void)crt_dump(rt, nowhere); break;
    case 2:
        CHECK((h = crt_handle_current()) != NULL);
        crt_handle_drop(&h);
        break;
    case 3:
        crt_runtime_drop(&rt);
        CHECK(rt != NULL);
        break;
    case 4: CHECK_EQ(crt_runtime_shutdown(rt, 0), CRT_ENESTED); break;   // another may be gone
    case 5: CHECK_EQ(crt_mutex_blocking_lock(&W.mutex[0]), CRT_ENESTED); break;
    case 6: (void)crt_metrics_prometheus_text(rt, text, sizeof text); break;
    case 7:   // nobody has asked for it
        w = crt_waker_clone(cx);
        crt_wake(&w);
        break;
    default: give_waker(crt_waker_clone(cx));
    }
}
static void meddle(crt_cx *cx)   // NULL: from anywhere, from drop callbacks and hooks too
{
    uint32_t i = chance(POOL), what = chance(cx ? 10 : 6);
    if (what < 2) {
        if (!pool_try(i)) return;
        if (what) meddle_with_a_task(i); else meddle_with_a_waker(i);
        pool_leave(i);
    } else if (what == 2) {
        ring(i % OF_EACH);
    } else if (what == 3) {
        if (chance(6) == 0) crt_cancel_token_cancel(W.token[1 + i % (TOKENS - 1)]);
    } else if (what == 4) {
        meddle_with_a_channel();
    } else if (what == 5) {
        meddle_with_locks(i % OF_EACH);
    } else {
        meddle_inside(cx);
    }
}

// ---- steps: time ----------------------------------------------------------------------

static crt_poll yield_run(step *self, crt_cx *cx) { return (void)self, crt_yield_now(cx); }
static crt_poll sleep_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    self->due = crt_now(cx) + some_time(self, 3000);
    AWAIT(FOR_TIME, crt_sleep_until(cx, self->due));
    check_due(self, cx);
    CRT_END;
}
static crt_poll budget_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->a % 400; self->i++) CRT_AWAIT(crt_consume_budget(cx));
    CRT_END;
}
// Now and then it is set again while it is waited for.
static crt_poll timer_poll(step *self, crt_cx *cx)
{
    crt_poll r = crt_timer_wait(cx, &self->timer);
    if (r == CRT_PENDING && self->b % 4 == 0 && self->tries++ < 3) {
        self->due = crt_now(cx) + CRT_US(self->b % 1000);
        crt_timer_reset_at(cx, &self->timer, self->due);
    }
    return r;
}
static crt_poll timer_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    self->tries = 0;
    self->due = crt_now(cx) + some_time(self, 2000);
    crt_timer_reset_at(cx, &self->timer, self->due);
    AWAIT(FOR_TIME, timer_poll(self, cx));
    check_due(self, cx);
    CRT_FINALLY
        crt_timer_stop(&self->timer);
    CRT_END;
}
static crt_poll interval_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    crt_interval_init(&self->interval, CRT_US(self->a % 900 + 1), (crt_missed)(self->b % 3));
    for (self->i = 0; self->i < 4; self->i++) {
        self->due = self->i ? self->interval.next : 0;
        CRT_AWAIT(self->r = crt_interval_tick(cx, &self->interval));
        check_due(self, cx);
    }
    CRT_END;
}
static crt_poll delays_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    for (int i = 0; i < 3; i++) {
        int r = crt_delay_insert(cx, &self->queue, &self->delay[i], CRT_US(chance(2000)));
        expect(r == 0 || W.faulty, "crt_delay_insert", r);
    }
    if (self->b & 1) crt_delay_remove(&self->queue, &self->delay[1]);
    for (self->tries = 0;;) {
        CRT_AWAIT(self->r = crt_delay_next(cx, &self->queue, &self->came));
        if (self->r < 0) break;
        if (self->came->deadline > crt_now(cx)) fail("a delay came early");
        if (self->came == &self->delay[0] && self->b & 2 && !self->tries++)
            (void)crt_delay_insert(cx, &self->queue, self->came, CRT_US(100));
    }
    expect(self->r == CRT_EEMPTY, "crt_delay_next", self->r);
    CRT_FINALLY
        crt_delay_queue_clear(&self->queue);
        crt_delay_queue_drop(&self->queue);
    CRT_END;
}

// ---- steps: around others -------------------------------------------------------------

static crt_poll sequence_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < (uint32_t)self->kids; self->i++) CRT_AWAIT(self->r = run(self->kid[self->i], cx));
    CRT_END;
}
static crt_poll loop_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->a % 8; self->i++) {
        CRT_AWAIT(self->r = run(self->kid[0], cx));
        CRT_AWAIT(crt_consume_budget(cx));
    }
    CRT_END;
}
static bool is_of_an_arm(const step *s, crt_poll r)
{
    return s->arm[0] == r || s->arm[1] == r || s->arm[2] == r || s->arm[3] == r;
}
#define ARM(i) crt_on_if(cx, i, self->kids > i, self->arm[i] = run(self->kid[i], cx))
#define COMBINED(name, crt_combine)                                                        \
    static crt_poll name(step *self, crt_cx *cx)                                           \
    {                                                                                      \
        crt_poll r = self->kids == 2 ? crt_combine(cx, &self->two, ARM(0), ARM(1))         \
                                     : crt_combine(cx, &self->four, ARM(0), ARM(1), ARM(2), ARM(3)); \
        expect(r != CRT_EINVAL || is_of_an_arm(self, r), #crt_combine, r);                 \
        return r;                                                                          \
    }
COMBINED(select_run, crt_select)
COMBINED(biased_run, crt_select_biased)
COMBINED(join_all_run, crt_join_all)
COMBINED(try_join_run, crt_try_join)
static crt_poll timeout_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    self->due = crt_now(cx) + some_time(self, 2500);
    CRT_AWAIT(self->r = crt_timeout_at(cx, &self->timer, self->due, self->arm[0] = run(self->kid[0], cx)));
    if (self->r == CRT_ETIMEDOUT && self->arm[0] == CRT_UNWIND) check_due(self, cx);
    CRT_RETURN(self->r);
    CRT_END;
}
static crt_cancel_token *token_of(const step *s) { return W.token[s->a % TOKENS]; }
static crt_poll until_run(step *self, crt_cx *cx)
{
    return crt_run_until_cancelled(cx, &self->until, token_of(self), run(self->kid[0], cx));
}
static crt_poll unconstrained_run(step *self, crt_cx *cx) { return crt_unconstrained(cx, run(self->kid[0], cx)); }
static crt_poll with_local_run(step *self, crt_cx *cx)
{
    return crt_with_local(cx, &self->with, &with_key, self, run(self->kid[0], cx));
}
// Cleans up in two awaits, and panics between them at times.
static crt_poll cleanup_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = run(self->kid[0], cx));
    CRT_RETURN(self->a % 7 == 0 ? CRT_EEOF : 2);
    CRT_FINALLY
        if (self->kid[0]->running) fail("step %d cleans up before its child", self->id);
        CRT_AWAIT(self->clean = run(self->kid[1], cx));
        if (self->a % 11 == 0) {
            will_panic(cx);
            CRT_PANIC(cx, "in a cleanup");
        }
        CRT_AWAIT(self->clean = run(self->kid[2], cx));
    CRT_END;
}
static crt_poll panic_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    if (self->a & 2) CRT_AWAIT(self->r = crt_yield_now(cx));
    will_panic(cx);
    CRT_PANIC(cx, "panic %u", self->a);
    CRT_FINALLY
        CRT_AWAIT(self->r = crt_yield_now(cx));
    CRT_END;
}
static crt_poll panic_by_hand_run(step *self, crt_cx *cx)
{
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    will_panic(cx);
    return crt_panic(cx, "by hand %u", self->a);
}
static crt_poll meddle_run(step *self, crt_cx *cx)
{
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    for (uint32_t n = self->b % 4 + 1; n--;) meddle(cx);
    return 0;
}
// Keeps, swaps and gives away wakers; each way somebody wakes it in the end.
static crt_poll waker_poll(step *self, crt_cx *cx)
{
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    if (self->polls++ >= (int)(self->a % 6)) return 3;
    if (self->waker.vtable && !crt_waker_will_wake(&self->waker, cx)) crt_waker_drop(&self->waker);
    if (!self->waker.vtable) self->waker = crt_waker_clone(cx);
    switch (chance(4)) {
    case 0:
        crt_wake_by_ref(&self->waker);
        crt_wake_by_ref(&self->waker);
        break;
    case 1: crt_wake(&self->waker); break;
    case 2:
        give_waker(crt_waker_clone(cx));
        give_waker(crt_waker_clone(cx));
        break;
    default:
        give_waker(self->waker);
        self->waker = (crt_waker){0};
    }
    return CRT_PENDING;
}
static crt_poll waker_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    self->polls = 0;
    CRT_AWAIT(self->r = waker_poll(self, cx));
    CRT_FINALLY
        crt_waker_drop(&self->waker);
    CRT_END;
}

// ---- steps: channels ------------------------------------------------------------------

static void take_tx(step *self)
{
    pthread_mutex_lock(&W.lock);
    self->tx = W.tx[self->a % CHANNELS] ? crt_mpsc_tx_clone(W.tx[self->a % CHANNELS]) : NULL;
    pthread_mutex_unlock(&W.lock);
}
static crt_poll send_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    take_tx(self);
    if (!self->tx) CRT_RETURN(0);
    self->seen = new_sender();
    for (self->i = 1; self->i <= self->b % 4 + 1; self->i++) {
        self->letter = new_letter(self->seen, self->i);
        AWAIT(FOR_ROOM, crt_mpsc_send(cx, self->tx, &self->letter));
        expect(self->r == 0 || self->r == CRT_ECLOSED || self->r == CRT_ENOMEM, "crt_mpsc_send", self->r);
        if (self->r) break;
        sent(self->letter);
    }
    CRT_RETURN(self->r);
    CRT_FINALLY
        crt_mpsc_tx_drop(&self->tx);
    CRT_END;
}
static int take_rx(step *self)   // one at a time
{
    return (self->held = !SWAP(&W.reading[self->a % CHANNELS], 1));
}
static crt_poll recv_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    if (!take_rx(self)) CRT_RETURN(0);
    for (self->i = 0; self->i <= self->b % 4; self->i++) {
        if (self->b & 8) {
            AWAIT(FOR_LETTER, crt_mpsc_recv_many(cx, W.rx[self->a % CHANNELS], self->some, 4));
            for (int i = 0; i < (int)self->r; i++) received_in_order(self->some[i]);
        } else {
            AWAIT(FOR_LETTER, crt_mpsc_recv(cx, W.rx[self->a % CHANNELS], &self->letter));
            if (self->r == 0) received_in_order(self->letter);
        }
        expect(self->r >= 0 || self->r == CRT_ECLOSED, "crt_mpsc_recv", self->r);
        if (self->r < 0) break;
    }
    CRT_FINALLY
        if (self->held) SET(&W.reading[self->a % CHANNELS], 0);
        self->held = 0;
    CRT_END;
}
static crt_poll reserve_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    take_tx(self);
    if (!self->tx) CRT_RETURN(0);
    AWAIT(FOR_ROOM, crt_mpsc_reserve(cx, self->tx));
    expect(self->r == 0 || self->r == CRT_ECLOSED, "crt_mpsc_reserve", self->r);
    if (self->r) CRT_RETURN(self->r);
    self->held = 1;
    CRT_AWAIT(self->arm[0] = run(self->kid[0], cx));
    if (self->b & 1) {
        self->letter = new_letter(new_sender(), 1);
        self->held = 0;
        self->r = crt_mpsc_send_reserved(self->tx, &self->letter);
        expect(self->r == 0 || self->r == CRT_ENOMEM, "crt_mpsc_send_reserved", self->r);
        if (self->r == 0) sent(self->letter);
    }
    CRT_FINALLY
        if (self->held) crt_mpsc_unreserve(self->tx);
        self->held = 0;
        crt_mpsc_tx_drop(&self->tx);
    CRT_END;
}
static crt_poll no_reader_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    take_tx(self);
    if (!self->tx) CRT_RETURN(0);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(self->b % 4),   // the reader may wait for this tx to go
                                    self->arm[0] = waiting(self, FOR_NO_READER, crt_mpsc_closed(cx, self->tx))));
    if (self->r == 0 && !crt_mpsc_is_closed(self->tx)) fail("crt_mpsc_closed ended while it is open");
    CRT_FINALLY
        crt_mpsc_tx_drop(&self->tx);
    CRT_END;
}

// The other end of a oneshot: a task that sends, or waits until nobody listens, or only lets go.
typedef struct sender {
    crt_frame co;
    crt_oneshot_tx *tx;
    record *who;
    step *to;
    uint32_t a;
} sender;
static void sender_sends(sender *self)
{
    letter l = new_letter(0, 1);
    int r = crt_oneshot_send(&self->tx, &l);
    expect(r == 0 || r == CRT_ECLOSED, "crt_oneshot_send", r);
    if (r == 0) sent(l);
}
static crt_poll sender_body(sender *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    begins(self->who);
    if (self->a & 1) CRT_AWAIT(crt_sleep(cx, CRT_US(500)));
    if (self->a & 2) CRT_AWAIT(crt_oneshot_closed(cx, self->tx));   // the receiver has a time-out
    if (self->a & 4) sender_sends(self);
    CRT_FINALLY
        cleans_up(self->who);
        crt_oneshot_tx_drop(&self->tx);
        SET(&self->to->told, 1);
        has_ended(self->who);
    CRT_END;
}
static crt_poll sender_run(void *frame, crt_cx *cx)
{
    ADD(&W.polls, 1);
    crt_poll r = sender_body(frame, cx);
    ADD(&W.polls, -1);
    return r;
}
static void sender_spawn(step *self, crt_cx *cx)
{
    record *who = new_record(NULL);
    is_spawned(who);
    sender f = {.tx = self->otx, .who = who, .to = self, .a = self->a};
    self->told = 0;
    if (!counted(crt_handle_spawn(W.handle[some_runtime(cx)], sender_run, &f), who)) crt_oneshot_tx_drop(&self->otx);
    self->otx = NULL;
}
static crt_poll oneshot_poll(step *self, crt_cx *cx)
{
    return waiting(self, FOR_ONESHOT, crt_oneshot_recv(cx, &self->orx, &self->letter));
}
static crt_poll oneshot_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    if (SWAP(&self->used, 1)) CRT_RETURN(0);   // `told` is of one sender
    if (crt_oneshot_new(sizeof(letter), &self->otx, &self->orx) < 0) CRT_RETURN(0);
    crt_oneshot_on_drop(self->orx, letter_dropped, NULL);
    sender_spawn(self, cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(self->b % 4),
                                    self->arm[0] = oneshot_poll(self, cx)));
    expect(self->r == 0 || self->r == CRT_ETIMEDOUT || self->r == CRT_ECLOSED, "crt_oneshot_recv", self->r);
    if (self->r == 0) received(self->letter);
    if (self->r == 0 && self->orx) fail("a oneshot was received from, and is left");
    CRT_FINALLY
        crt_oneshot_rx_drop(&self->orx);
    CRT_END;
}
// Values that all see carry their number; it is given out and the value sent under one lock, so that the receivers see
// them without a gap, but for those that they are told they lost.
static crt_poll news_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    pthread_mutex_lock(&W.lock);
    if (!W.news || crt_broadcast_subscribe(W.news, &self->brx) < 0) self->brx = NULL;
    self->seen = W.news_sent;
    pthread_mutex_unlock(&W.lock);
    if (!self->brx) CRT_RETURN(0);
    for (self->i = 0; self->i <= self->b % 4; self->i++) {
        AWAIT(FOR_NEWS, crt_broadcast_recv(cx, self->brx, &self->letter, &self->key));
        if (self->r == CRT_ECLOSED) break;
        expect(self->r == 0 || self->r == CRT_ELAGGED, "crt_broadcast_recv", self->r);
        self->seen += self->r == 0 ? 1 : (uint32_t)self->key;
        if (self->r) continue;
        if (is_whole("news", self->letter) && self->letter.number != self->seen)
            fail("news: %u came in place of %u", self->letter.number, self->seen);
        ADD(&W.news_alive, -1);
    }
    CRT_FINALLY
        crt_broadcast_rx_drop(&self->brx);
    CRT_END;
}
static crt_poll publish_run(step *self, crt_cx *cx)
{
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    for (uint32_t n = self->b % 6 + 1; n--;) {
        pthread_mutex_lock(&W.lock);
        letter l = new_letter(0, W.news_sent + 1);
        ADD(&W.news_alive, 1);
        if (W.news && crt_broadcast_send(W.news, &l) >= 0) W.news_sent++; else ADD(&W.news_alive, -1);
        pthread_mutex_unlock(&W.lock);
    }
    return 0;
}
static void look_at_watched(step *self)
{
    crt_watch_get_update(self->wrx, &self->letter);
    ADD(&W.watch_alive, -1);
    if (is_whole("watched", self->letter) && self->letter.number <= self->seen)
        fail("watched: %u after %u", self->letter.number, self->seen);
    self->seen = self->letter.number;
}
static void look_at_the_last(step *self)   // after the end
{
    crt_watch_get(self->wrx, &self->letter);
    ADD(&W.watch_alive, -1);
    if (self->letter.number != self->seen)
        fail("watched: %u was the last, and %u the last told", self->letter.number, self->seen);
}
static bool is_even(const void *elem, void *user) { return (void)user, ((const letter *)elem)->number % 2 == 0; }
static crt_poll watch_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    pthread_mutex_lock(&W.lock);
    if (!W.watched || crt_watch_subscribe(W.watched, &self->wrx) < 0) self->wrx = NULL;
    self->seen = W.watch_sent;
    pthread_mutex_unlock(&W.lock);
    if (!self->wrx) CRT_RETURN(0);
    for (self->i = 0; self->i <= self->b % 4; self->i++) {
        AWAIT(FOR_CHANGE, crt_watch_changed(cx, self->wrx));
        expect(self->r == 0 || self->r == CRT_ECLOSED, "crt_watch_changed", self->r);
        if (self->r) break;
        look_at_watched(self);
    }
    if (self->r) look_at_the_last(self);
    else if (self->b & 8) {
        AWAIT(FOR_NOTHING, crt_watch_wait_for(cx, self->wrx, is_even, NULL, &self->letter));
        if (self->r == 0) ADD(&W.watch_alive, -1);
        if (self->r == 0 && self->letter.number % 2) fail("crt_watch_wait_for ended with another value");
    }
    CRT_FINALLY
        crt_watch_rx_drop(&self->wrx);
    CRT_END;
}
static crt_poll change_run(step *self, crt_cx *cx)
{
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    for (uint32_t n = self->b % 3 + 1; n--;) {
        pthread_mutex_lock(&W.lock);
        letter l = new_letter(0, W.watch_sent + 1);
        ADD(&W.watch_alive, 1);
        if (W.watched && crt_watch_send(W.watched, &l) == 0) W.watch_sent++; else ADD(&W.watch_alive, -1);
        pthread_mutex_unlock(&W.lock);
    }
    return 0;
}

// ---- steps: locks and their like ------------------------------------------------------

static crt_poll sem_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    AWAIT(FOR_PERMITS, crt_semaphore_acquire(cx, &W.sem[which(self)], self->b % 3));
    expect(self->r == 0 || self->r == CRT_ECLOSED, "crt_semaphore_acquire", self->r);
    if (self->r) CRT_RETURN(self->r);
    self->held = (int)(self->b % 3);
    CRT_AWAIT(self->r = run(self->kid[0], cx));
    CRT_FINALLY
        crt_semaphore_release(&W.sem[which(self)], (size_t)self->held);
        self->held = 0;
    CRT_END;
}
static void mutex_free(step *self)
{
    if (!self->held) return;
    self->held = 0;
    W.plain[which(self)]++;
    ADD(&W.inside[which(self)], -1);
    crt_mutex_unlock(&W.mutex[which(self)]);
}
static crt_poll mutex_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    AWAIT(FOR_MUTEX, crt_mutex_lock(cx, &W.mutex[which(self)]));
    expect(self->r == 0, "crt_mutex_lock", self->r);
    self->held = 1;
    if (ADD(&W.inside[which(self)], 1) != 1) fail("mutex: two inside");
    W.plain[which(self)]++;
    CRT_AWAIT(self->r = run(self->kid[0], cx));
    CRT_FINALLY
        mutex_free(self);
    CRT_END;
}
enum { WRITER = 1000 };   // counts as so many readers
static void rwlock_free(step *self)
{
    int held = self->held;
    self->held = 0;
    ADD(&W.readers[which(self)], -held);
    if (held == WRITER) crt_rwlock_unlock_write(&W.rwlock[which(self)]);
    else if (held) crt_rwlock_unlock_read(&W.rwlock[which(self)]);
}
static crt_poll rwlock_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    if (self->b & 1) AWAIT(FOR_RWLOCK, crt_rwlock_write(cx, &W.rwlock[which(self)]));
    else AWAIT(FOR_RWLOCK, crt_rwlock_read(cx, &W.rwlock[which(self)]));
    self->held = self->b & 1 ? WRITER : 1;
    {
        long in = ADD(&W.readers[which(self)], self->held);
        if (self->held == WRITER ? in != WRITER : in >= WRITER) fail("rwlock: a writer is not alone");
    }
    CRT_AWAIT(self->r = run(self->kid[0], cx));
    if (self->held == WRITER && self->b & 2) {
        self->held = 1;
        ADD(&W.readers[which(self)], 1 - WRITER);
        crt_rwlock_downgrade(&W.rwlock[which(self)]);
        CRT_AWAIT(self->r = crt_yield_now(cx));
    }
    CRT_FINALLY
        rwlock_free(self);
    CRT_END;
}
// A poll may end before it stands in the queue, for want of budget: what came before the last does not count.
static crt_poll notified_poll(step *self, crt_cx *cx)
{
    self->seen = crt_notify_snapshot(&W.notify[which(self)]);
    return crt_notified(cx, &W.notify[which(self)]);
}
static crt_poll notified_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    self->seen = crt_notify_snapshot(&W.notify[which(self)]);
    if (self->b & 1) AWAIT(FOR_NOTICE, notified_poll(self, cx));
    else AWAIT(FOR_NOTICE, crt_notified_since(cx, &W.notify[which(self)], self->seen));
    expect(self->r == 0, "crt_notified", self->r);
    CRT_END;
}
static int waiting_at_barrier(void)
{
    int n = 0;
    for (step *s = W.steps; s; s = s->next) n += s->waits == FOR_BARRIER;
    return n;
}
static crt_poll barrier_poll(step *self, crt_cx *cx)
{
    crt_poll r = waiting(self, FOR_BARRIER, crt_barrier_wait(cx, &W.barrier));
    if (W.alone && r == 1 && waiting_at_barrier() + 1 < (int)W.barrier_size) fail("a barrier opens for too few");
    return r;
}
static crt_poll barrier_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, some_time(self, 3000), self->arm[0] = barrier_poll(self, cx)));
    CRT_END;
}
static crt_poll make_once(step *self, crt_cx *cx)   // a body: the step in it, then the value; fails now and then
{
    CRT_BEGIN(self, cx);
    self->owner->used = 1;
    if (ADD(&W.making[which(self->owner)], 1) != 1) fail("once: two make it");
    CRT_AWAIT(self->r = run(self->owner->kid[0], cx));
    if (self->b % 2 == 0) CRT_RETURN(CRT_EEOF);
    if (W.once_value[which(self->owner)]++) fail("once: made twice");
    CRT_FINALLY
        if (self->owner->used) ADD(&W.making[which(self->owner)], -1);
        self->owner->used = 0;
    CRT_END;
}
static crt_poll once_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    if (self->b & 16) CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(2),
        self->arm[0] = waiting(self, FOR_ONCE, crt_once_cell_wait(cx, &W.once[which(self)]))));
    else CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(2), self->arm[0] = waiting(self, FOR_ONCE,
        crt_once_cell_init(cx, &W.once[which(self)], make_once(self->body, cx)))));
    if (self->r == 0 && W.once_value[which(self)] != 1) fail("once: the value is not seen");
    CRT_END;
}
static crt_poll cancelled_run(step *self, crt_cx *cx)
{
    return waiting(self, FOR_TOKEN, crt_cancelled(cx, token_of(self)));
}

// ---- steps: streams -------------------------------------------------------------------

typedef struct echo {
    crt_frame co;
    crt_stream *s;
    record *who;
    crt_poll n;
    uint32_t rounds;
    unsigned char bytes[64];
} echo;
static crt_poll echo_body(echo *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    begins(self->who);
    while (self->rounds--) {
        CRT_AWAIT(self->n = crt_read(cx, self->s, self->bytes, sizeof self->bytes));
        if (self->n <= 0) CRT_RETURN(0);
        CRT_AWAIT(self->n = crt_write_all(cx, self->s, self->bytes, (size_t)self->n));
        if (self->n < 0) CRT_RETURN(0);
    }
    CRT_FINALLY
        cleans_up(self->who);
        crt_close(&self->s);
        has_ended(self->who);
    CRT_END;
}
static crt_poll echo_run(void *frame, crt_cx *cx)
{
    ADD(&W.polls, 1);
    crt_poll r = echo_body(frame, cx);
    ADD(&W.polls, -1);
    return r;
}
static void echo_spawn(step *self, crt_cx *cx)
{
    record *who = new_record(NULL);
    is_spawned(who);
    echo f = {.s = self->theirs, .who = who, .rounds = self->b % 5};
    if (!counted(crt_handle_spawn(W.handle[some_runtime(cx)], echo_run, &f), who)) crt_close(&self->theirs);
    self->theirs = NULL;
}
static unsigned char pattern(uint32_t at) { return (unsigned char)(at * 7 + (at >> 8)); }
static void fill(step *self, size_t n)
{
    for (size_t i = 0; i < n; i++) self->bytes[i] = pattern(self->wrote++);
}
static void compare(step *self, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (self->bytes[64 + i] != pattern(self->read_to++)) {
            fail("a stream: byte %u is another", self->read_to - 1);
            break;
        }
    if (self->read_to > self->wrote) fail("a stream: more came back than was written");
}
// Writes to an echo and reads what comes back.
static crt_poll talk(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    if (self->r < 0) {
        expect(W.faulty || self->r == CRT_ESHUTDOWN, "a pair of streams", self->r);
        CRT_RETURN(0);
    }
    echo_spawn(self, cx);
    self->wrote = self->read_to = 0;
    for (self->i = 0; self->i <= self->b % 4; self->i++) {
        fill(self, self->a % 60 + 1);
        CRT_AWAIT(self->r = crt_write_all(cx, self->mine, self->bytes, self->a % 60 + 1));
        while (self->r >= 0 && self->read_to < self->wrote) {
            AWAIT(FOR_BYTES, crt_read(cx, self->mine, self->bytes + 64, 64));
            if (self->r <= 0) CRT_RETURN(0);   // the echo has had enough
            compare(self, (size_t)self->r);
        }
        if (self->r < 0) CRT_RETURN(0);
        if (self->a & 256) CRT_AWAIT(self->arm[0] = run(self->kid[0], cx));
    }
    CRT_FINALLY
        crt_close(&self->mine);
    CRT_END;
}
enum { LEAST = 20 };   // bytes each way: with less, both sides would wait for room
static crt_poll duplex_run(step *self, crt_cx *cx)
{
    if (!self->mine && !self->running) self->r = crt_duplex(cx, self->a % 40 + LEAST, &self->mine, &self->theirs);
    return talk(self, cx);
}
static crt_poll pair_run(step *self, crt_cx *cx)
{
    if (!self->mine && !self->running) self->r = crt_stream_pair(cx, &self->mine, &self->theirs);
    return talk(self, cx);
}
#ifndef _WIN32
static crt_poll fd_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    if (test_pipe(self->fd)) CRT_RETURN(0);
    self->held = 1;
    CRT_AWAIT(self->r = crt_select(cx, &self->two, crt_on(cx, 0, self->arm[0] = crt_fd_readable(cx, self->fd[0])),
                                   crt_on(cx, 1, self->arm[1] = crt_sleep(cx, CRT_US(300)))));
    CHECK_EQ(write(self->fd[1], "x", 1), 1);
    CRT_AWAIT(self->r = crt_fd_readable(cx, self->fd[0]));
    expect(self->r == 0 || self->r == CRT_ESHUTDOWN || W.faulty, "crt_fd_readable", self->r);
    CRT_FINALLY
        if (self->held) close(self->fd[0]), close(self->fd[1]);
        self->held = 0;
    CRT_END;
}
#endif

// ---- steps: jobs ----------------------------------------------------------------------

static intptr_t meddling_job(void *arg)
{
    ADD(&W.jobs, 1);
    if (chance(3) == 0) test_pause_us(chance(1000));
    meddle(NULL);
    ADD(&W.jobs, -1);
    return arg ? 77 : 0;
}
static void on_log(int level, const char *message, void *user)
{
    (void)level, (void)message, (void)user;
    ADD(&W.logs, 1);
}
static void runtime_within(const step *self)
{
    crt_config c = {.flavor = self->b & 8 ? CRT_CURRENT_THREAD : CRT_MULTI_THREAD, .worker_threads = 1};
    c.log.func = on_log;
    crt_runtime *rt = NULL;
    if (crt_runtime_new(&c, &rt)) return;
    crt_runtime_shutdown(rt, chance(2) ? 0 : CRT_FOREVER);
    crt_runtime_drop(&rt);
}
static void block_within(step *self)
{
    if (SWAP(&self->kid[0]->used, 1)) return;   // once: the job may outlive its step
    task *f = lasting(sizeof *f);
    *f = new_task(self->kid[0], NULL, NULL);
    f->who->in_block_on = 1;
    crt_handle *h = crt_handle_current();
    CHECK(h != NULL);
    crt_poll r = crt_handle_block_on(h, task_run, f);
    expect(r != CRT_ENESTED, "crt_handle_block_on in a job", r);
    crt_handle_drop(&h);
}
static intptr_t job(void *arg)
{
    step *self = arg;
    ADD(&W.jobs, 1);
    if (self->a % 5 == 1) runtime_within(self);
    if (self->a % 5 == 2) block_within(self);
    ADD(&W.jobs, -1);
    return meddling_job(arg);
}
static crt_poll job_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    self->r = crt_spawn_blocking(cx, self->b & 1 ? &self->join : NULL, job, self);
    expect(self->r == 0 || self->r == CRT_ESHUTDOWN || W.faulty, "crt_spawn_blocking", self->r);
    if (self->r < 0 || !self->join) CRT_RETURN(0);
    if (self->b & 2) crt_abort(self->join);
    give_abort_handle(self->join);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    expect(self->r == 0 || self->r == CRT_ECANCELED, "the join of a job", self->r);
    if (self->r == 0 && self->result != 77) fail("a job gave %ld", (long)self->result);
    CRT_FINALLY
        let_go(self->join, self->b & 4);
        self->join = NULL;
    CRT_END;
}
static intptr_t in_place(void *arg)
{
    ((step *)arg)->polls++;
    meddling_job(NULL);
    return 55;
}
static crt_poll in_place_run(step *self, crt_cx *cx)
{
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    int before = self->polls;
    intptr_t r = crt_block_in_place(cx, in_place, self);
    bool refused = (r == CRT_ENOCONTEXT || W.faulty) && self->polls == before;
    if (r != 55 && !refused) fail("crt_block_in_place gave %ld", (long)r);
    return 0;
}

// ---- steps: tasks ---------------------------------------------------------------------

static int spawn_desc(crt_cx *cx, task *f, uint32_t how, crt_join_handle **join)
{
    static const char *const names[] = {
        NULL, "a", "", "one that is longer than the sixty-three bytes which are kept of it",
    };
    crt_task_desc d = {.fn = task_run, .frame = f, .size = sizeof *f, .join = join, .name = names[how / 4 % 4]};
    d.priority = (int)(how % 3) - 1;
    if (how / 16 % 2) d.handle = W.handle[some_runtime(cx)];
    return crt_spawn_ex(cx, &d);
}
static int spawn_stored(crt_cx *cx, task *f, crt_join_handle **join)
{
    CRT_TASK_STORAGE(task) *memory = lasting(sizeof *memory);
    f->who->storage = memory;
    return crt_spawn_in(cx, memory, join, task_run, f);
}
static crt_poll local_set_run(step *self, crt_cx *cx);
// What a task of a local set spawns locally is of the set (the record is not found where there was no memory for it).
static step *group_of_locals(crt_cx *cx)
{
    record *who = crt_task_local_get(cx, &who_key);
    return who && who->group && who->group->kind->run == local_set_run ? who->group : NULL;
}
static crt_join_handle *spawn_somehow(crt_cx *cx, step *body, step *cleanup, uint32_t how, record **who)
{
    crt_join_handle *join = NULL;
    task f = new_task(body, cleanup, how % 6 == 3 ? group_of_locals(cx) : NULL);
    int r;
    *who = f.who;
    is_spawned(f.who);
    switch (how % 6) {
    case 0: r = crt_spawn_join(cx, &join, task_run, &f); break;
    case 1: r = crt_handle_spawn_join(W.handle[some_runtime(cx)], &join, task_run, &f); break;
    case 2: r = spawn_stored(cx, &f, &join); break;
    case 3:
        r = crt_spawn_local_join(cx, &join, task_run, &f);
        if (r == CRT_ENOCONTEXT) r = crt_spawn_join(cx, &join, task_run, &f);
        break;
    case 4: r = crt_spawn(cx, task_run, &f); break;
    default: r = spawn_desc(cx, &f, how / 6, &join);
    }
    if (!counted(r, f.who) && join) fail("a spawn failed and gave a handle");
    if (join) give_abort_handle(join);
    return join;
}
static crt_poll spawn_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    if (SWAP(&self->used, 1)) CRT_RETURN(0);   // each of its steps is one frame
    self->join = spawn_somehow(cx, self->kid[0], self->b & 64 ? self->kid[1] : NULL, self->a, &self->who);
    if (!self->join || self->b % 4 == 0) CRT_RETURN(0);
    if (self->b % 4 == 1) {
        CRT_AWAIT(self->arm[0] = run(self->kid[2], cx));
        crt_abort(self->join);
    }
    AWAIT(FOR_JOIN, crt_join(cx, &self->join, &self->result));
    check_join(self->r, self->result, self->who);
    if (self->r == CRT_EPANIC && !crt_join_panic_message(self->join)) fail("a panic without words");
    crt_detach(&self->join);
    CRT_FINALLY
        if (self->join) give_handle(self->join, self->who);
        self->join = NULL;
    CRT_END;
}
static crt_poll join_another_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    self->join = take_handle(&self->who);
    if (!self->join) CRT_RETURN(0);
    if (self->b & 1) crt_abort(self->join);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(self->b % 4),
                                    self->arm[0] = waiting(self, FOR_JOIN, crt_join(cx, &self->join, &self->result))));
    if (self->r != CRT_ETIMEDOUT && self->r != CRT_EINVAL)   // EINVAL: it was its own
        check_join(self->r, self->result, self->who);
    CRT_FINALLY
        if (self->join && crt_join_panic_message(self->join)) crt_detach(&self->join);
        if (self->join) give_handle(self->join, self->who);
        self->join = NULL;
    CRT_END;
}

// ---- steps: groups --------------------------------------------------------------------

// Whether all that were born in it have ended; a shutdown that does not wait ends some without their cleanup.
static void check_all_ended(step *group)
{
    int born = GET(&group->born), ended = GET(&group->ended);
    if (born != ended && !by_force())
        fail("step %d, %s ends with %d of its %d tasks", group->id, group->kind->name, born - ended, born);
}
static crt_poll scope_body(step *self, crt_cx *cx)
{
    step *o = self->owner;
    CRT_BEGIN(self, cx);
    for (self->i = 1; self->i < (uint32_t)o->kids; self->i++) {
        task f = new_task(o->kid[self->i], NULL, o);
        is_spawned(f.who);
        (void)counted(crt_scope_spawn(cx, &o->scope, task_run, &f), f.who);
    }
    CRT_AWAIT(self->r = run(o->kid[0], cx));
    if (self->a % 5 == 0) crt_scope_cancel(&o->scope);
    CRT_RETURN(self->a % 7 == 0 ? CRT_EEOF : 0);
    CRT_FINALLY
        SET(&o->body_done, 1);
    CRT_END;
}
static crt_poll scope_ended(step *self, crt_poll r)
{
    if (r == CRT_PENDING) return waiting(self, FOR_SCOPE, r);
    if (crt_scope_len(&self->scope) && !by_force()) fail("a scope ends with tasks");
    check_all_ended(self);
    return waiting(self, FOR_SCOPE, r);
}
static crt_poll scope_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    if (SWAP(&self->used, 1)) CRT_RETURN(0);
    if (self->a & 1) CRT_AWAIT(scope_ended(self, crt_scope_run(cx, &self->scope, scope_body(self->body, cx))));
    else CRT_AWAIT(scope_ended(self, crt_scope_try_run(cx, &self->scope, scope_body(self->body, cx))));
    CRT_FINALLY
        check_all_ended(self);
    CRT_END;
}
static void join_set_fill(step *self, crt_cx *cx)
{
    for (int i = 1; i < self->kids; i++) {
        crt_abort_handle *a = NULL;
        task f = new_task(self->kid[i], NULL, self);
        is_spawned(f.who);
        int r = crt_join_set_spawn_abort(cx, &self->set, &a, task_run, &f);
        if (counted(r, f.who) && chance(3) == 0) crt_abort_handle_abort(a);
        crt_abort_handle_drop(&a);
    }
    if (!W.alone && self->b & 4) (void)crt_join_set_spawn_blocking(cx, &self->set, meddling_job, NULL);
}
static crt_poll join_set_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    if (SWAP(&self->used, 1)) CRT_RETURN(0);
    join_set_fill(self, cx);
    CRT_AWAIT(self->arm[0] = run(self->kid[0], cx));
    if (self->b & 2) crt_join_set_abort_all(&self->set);
    if (self->b % 5 == 4) {
        crt_join_set_detach_all(&self->set);
        CRT_RETURN(0);
    }
    for (;;) {
        AWAIT(FOR_GROUP, crt_join_set_next(cx, &self->set, &self->result));
        if (self->r == CRT_EEMPTY) break;
        expect(self->r == 0 || self->r == CRT_EPANIC || self->r == CRT_ECANCELED, "crt_join_set_next", self->r);
        if (self->r == CRT_EPANIC && !crt_join_set_panic_message(&self->set)) fail("a panic without words");
    }
    check_all_ended(self);
    CRT_FINALLY
        if (self->b & 8) CRT_AWAIT(self->clean = crt_join_set_shutdown(cx, &self->set));
        crt_join_set_drop(&self->set);
    CRT_END;
}
static crt_poll join_map_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    if (SWAP(&self->used, 1)) CRT_RETURN(0);
    for (self->i = 1; self->i < (uint32_t)self->kids; self->i++) {   // one key for all: each aborts the one before
        task f = new_task(self->kid[self->i], NULL, self);
        is_spawned(f.who);
        (void)counted(crt_join_map_spawn(cx, &self->map, self->b & 1 ? 5 : self->i, task_run, &f), f.who);
    }
    CRT_AWAIT(self->arm[0] = run(self->kid[0], cx));
    if (self->b & 2) crt_join_map_abort(&self->map, 1);
    for (;;) {
        CRT_AWAIT(self->r = crt_join_map_next(cx, &self->map, &self->key, &self->result));
        if (self->r == CRT_EEMPTY) break;
        expect(self->r == 0 || self->r == CRT_EPANIC || self->r == CRT_ECANCELED, "crt_join_map_next", self->r);
    }
    CRT_FINALLY
        if (self->b & 8) CRT_AWAIT(self->clean = crt_join_map_shutdown(cx, &self->map));
        crt_join_map_drop(&self->map);
    CRT_END;
}
static crt_poll tracker_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    if (SWAP(&self->used, 1)) CRT_RETURN(0);
    self->tracker = crt_task_tracker_new();
    if (!self->tracker) CRT_RETURN(0);
    for (self->i = 1; self->i < (uint32_t)self->kids; self->i++) {
        crt_join_handle *join = NULL;
        task f = new_task(self->kid[self->i], NULL, self);
        is_spawned(f.who);
        int r = crt_task_tracker_spawn_join(cx, self->tracker, &join, task_run, &f);
        if (counted(r, f.who)) give_handle(join, f.who);
    }
    CRT_AWAIT(self->arm[0] = run(self->kid[0], cx));
    crt_task_tracker_close(self->tracker);
    AWAIT(FOR_GROUP, crt_task_tracker_wait(cx, self->tracker));
    expect(self->r == 0, "crt_task_tracker_wait", self->r);
    check_all_ended(self);
    CRT_FINALLY
        crt_task_tracker_drop(&self->tracker);
    CRT_END;
}
static void local_set_fill(step *self, crt_cx *cx)
{
    for (int i = 1; i < self->kids; i++) {
        crt_join_handle *join = NULL;
        task f = new_task(self->kid[i], NULL, self);
        is_spawned(f.who);
        if (!counted(crt_local_set_spawn_join(cx, &self->locals, &join, task_run, &f), f.who)) continue;
        give_abort_handle(join);
        give_handle(join, f.who);
    }
}
static crt_poll local_set_run(step *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    if (SWAP(&self->used, 1)) CRT_RETURN(0);
    self->held = 1;
    local_set_fill(self, cx);
    CRT_AWAIT(self->arm[0] = run(self->kid[0], cx));
    AWAIT(FOR_GROUP, crt_local_set_join(cx, &self->locals));
    expect(self->r == 0, "crt_local_set_join", self->r);
    CRT_FINALLY
        if (self->held) {   // it has to outlive them, and an await here may be cut short once
            crt_local_set_abort_all(&self->locals);
            for (self->tries = 0; self->tries == 0 || (self->clean == CRT_UNWIND && self->tries < 3); self->tries++)
                CRT_AWAIT(self->clean = crt_local_set_join(cx, &self->locals));
            if (self->clean == CRT_UNWIND) fail("a cleanup was cut short more than twice");
            check_all_ended(self);
            self->held = 0;
        }
    CRT_END;
}

// ---- making a program -----------------------------------------------------------------

static const kind kinds[] = {
    {"yield", yield_run, 0, 0, 0},
    {"sleep", sleep_run, 0, 0, 0},
    {"budget", budget_run, 0, 0, 0},
    {"timer", timer_run, 0, 0, 0},
    {"interval", interval_run, 0, 0, 0},
    {"delays", delays_run, 0, 0, 0},
    {"meddle", meddle_run, 0, 0, 0},
    {"waker", waker_run, 0, 0, WAITS},
    {"panic", panic_run, 0, 0, PANICS},
    {"panic by hand", panic_by_hand_run, 0, 0, PANICS},
    {"send", send_run, 0, 0, WAITS},
    {"recv", recv_run, 0, 0, WAITS},
    {"no reader", no_reader_run, 0, 0, 0},
    {"oneshot", oneshot_run, 0, 0, 0},
    {"news", news_run, 0, 0, WAITS},
    {"publish", publish_run, 0, 0, 0},
    {"watch", watch_run, 0, 0, WAITS},
    {"change", change_run, 0, 0, 0},
    {"notified", notified_run, 0, 0, WAITS},
    {"barrier", barrier_run, 0, 0, 0},
    {"cancelled", cancelled_run, 0, 0, WAITS},
    {"join another", join_another_run, 0, 0, 0},
    {"in place", in_place_run, 0, 0, THREADS},
#ifndef _WIN32   // there, only sockets can be waited for
    {"fd", fd_run, 0, 0, 0},
#endif
    {"reserve", reserve_run, 1, 1, WAITS | LOCKS | BOUND | SHALLOW},
    {"semaphore", sem_run, 1, 1, WAITS | BOUND},
    {"mutex", mutex_run, 1, 1, WAITS | LOCKS | BOUND},
    {"rwlock", rwlock_run, 1, 1, WAITS | LOCKS | BOUND},
    {"once", once_run, 1, 1, BOUND | ONCE | BODY},   // a cell that its own maker waits for waits for ever
    {"job", job_run, 1, 1, BOUND | SHALLOW | JOBS | THREADS | NO_SPAWN},
    {"duplex", duplex_run, 1, 1, WAITS | BOUND | SHALLOW},
    {"pair", pair_run, 1, 1, WAITS | BOUND | SHALLOW},
    {"sequence", sequence_run, 1, 4, 0},
    {"loop", loop_run, 1, 1, 0},
    {"select", select_run, 2, 4, 0},
    {"biased select", biased_run, 2, 4, 0},
    {"join all", join_all_run, 2, 4, 0},
    {"try join", try_join_run, 2, 4, 0},
    {"timeout", timeout_run, 1, 1, 0},
    {"until cancelled", until_run, 1, 1, 0},
    {"unconstrained", unconstrained_run, 1, 1, 0},
    {"with local", with_local_run, 1, 1, 0},
    {"cleanup", cleanup_run, 3, 3, BOUND_REST | SHALLOW},
    {"spawn", spawn_run, 3, 3, BOUND_REST | SHALLOW | SPAWNS},
    {"scope", scope_run, 1, 4, SPAWNS | BODY},
    {"join set", join_set_run, 1, 4, SPAWNS},
    {"join map", join_map_run, 1, 4, SPAWNS},
    {"tracker", tracker_run, 1, 4, SPAWNS},
    {"local set", local_set_run, 1, 4, SPAWNS},
};
enum { KINDS = sizeof kinds / sizeof *kinds };
static const kind *kind_named(const char *name)
{
    for (int i = 0; i < KINDS; i++) if (!strcmp(kinds[i].name, name)) return &kinds[i];
    abort();
}
// `without`: what it must not do (LOCKS: locks without a limit in time).
static bool suits(const kind *k, int depth, uint32_t without)
{
    if (k->most && (depth <= 0 || W.steps_left <= 0)) return false;
    if (k->flags & without & (SPAWNS | ONCE | JOBS | THREADS)) return false;
    if (k->flags & PANICS && made(4)) return false;
    return k->most || depth <= 2 || made(3) == 0;   // not too many leaves near the root
}
static const kind *choose(int depth, uint32_t without)
{
    for (int tries = 0; tries < 200; tries++) {
        const kind *k = &kinds[made(KINDS)];
        if (suits(k, depth, without)) return k;
    }
    return &kinds[0];
}
static step *grow(int depth, uint32_t without);
static void grow_kid(step *s, int i, int depth, uint32_t without)
{
    const uint32_t flags = s->kind->flags;
    if (flags & BOUND || (flags & BOUND_REST && i > 0)) {
        without |= WAITS | LOCKS;
        if (flags & SHALLOW && depth > 1) depth = 1;
    }
    without |= flags & (ONCE | JOBS);
    if (flags & NO_SPAWN) without |= SPAWNS;
    s->kid[i] = grow(depth, without);
}
static step *grow(int depth, uint32_t without)
{
    step *s = new_step(choose(depth, without));
    W.steps_left--;
    s->kids = s->kind->least + (int)made((uint32_t)(s->kind->most - s->kind->least + 1));
    for (int i = 0; i < s->kids; i++) grow_kid(s, i, depth - 1, without);
    if (s->kind->flags & BODY) {
        s->body = new_step(s->kind);
        s->body->owner = s;
    }
    if (!(s->kind->flags & without & (WAITS | LOCKS))) return s;
    step *bound = new_step(kind_named("timeout"));   // somebody waits for it to end
    bound->kids = 1;
    bound->kid[0] = s;
    return bound;
}

// ---- nobody waits for what is there ---------------------------------------------------

// Nothing is ready: who waits for what is there, or for what has been, has not been told.
static bool what_is_there(step *s)
{
    uint32_t k = which(s), c = s->a % CHANNELS;
    unsigned char byte;
    switch (s->waits) {
    case FOR_NOTHING: return false;
    case FOR_LETTER: return crt_mpsc_len(W.rx[c]) > 0;
    case FOR_ROOM: return crt_mpsc_capacity(s->tx) > 0 || crt_mpsc_is_closed(s->tx);
    case FOR_NO_READER: return crt_mpsc_is_closed(s->tx);
    case FOR_NEWS: return crt_broadcast_rx_len(s->brx) > 0;
    case FOR_CHANGE: return crt_watch_has_changed(s->wrx) || crt_watch_rx_is_closed(s->wrx);
    case FOR_PERMITS:   // nobody asks for more than two
        return crt_semaphore_available(&W.sem[k]) >= 2 || crt_semaphore_is_closed(&W.sem[k]);
    case FOR_MUTEX: return W.inside[k] == 0;
    case FOR_RWLOCK: return W.readers[k] == 0;
    case FOR_NOTICE: return crt_notify_snapshot(&W.notify[k]) != s->seen;
    case FOR_ONCE: return crt_once_cell_is_set(&W.once[k]) || (!(s->b & 16) && W.making[k] == 0);
    case FOR_TOKEN: return crt_cancel_token_is_cancelled(token_of(s));
    case FOR_JOIN: return crt_is_finished(s->join);
    case FOR_ONESHOT: return s->told;
    case FOR_TIME: return crt__rt_now(W.rt[0]) > s->due + CRT_MS(1);   // a tick
    case FOR_BARRIER: return waiting_at_barrier() >= (int)W.barrier_size;
    case FOR_BYTES: return crt_try_peek(s->mine, &byte, 1) >= 0;
    case FOR_SCOPE: return s->body_done && s->born == s->ended;
    case FOR_GROUP: return s->born == s->ended && !W.faulty;   // see group_of_locals
    }
    return false;
}
static void nobody_waits_for_what_is_there(void)
{
    for (step *s = W.steps; s; s = s->next) {
        if (!what_is_there(s)) continue;
        fail("step %d, %s, waits for what is there (%d)", s->id, s->kind->name, (int)s->waits);
        s->waits = FOR_NOTHING;   // said once
    }
}

// ---- a program alone ------------------------------------------------------------------

typedef struct pause_task { crt_frame co; crt_duration d; } pause_task;
static crt_poll pause_run(void *frame, crt_cx *cx)
{
    pause_task *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, self->d));
    CRT_END;
}
// Until nothing is ready: what the last turn did may be ready in the system only at the next.
static void run_until_idle(void)
{
    for (int turns = 0, idle = 0; idle < 2; turns++) {
        int ran = crt_runtime_turn(W.rt[0], 0);
        expect(ran >= 0, "crt_runtime_turn", ran);
        idle = ran == 0 && crt_runtime_next_deadline(W.rt[0]) != 0 ? idle + 1 : 0;
        if (turns < 1000000) continue;
        fail("something is always ready");
        return;
    }
}
// Lets so much virtual time pass, turn by turn with a look at all who wait, or in a block_on.
static void pass(crt_duration d)
{
    if (!W.turns) {
        (void)crt_block_on(W.rt[0], pause_run, &(pause_task){.d = d});
        return;
    }
    for (;;) {
        run_until_idle();
        nobody_waits_for_what_is_there();
        crt_duration next = crt_runtime_next_deadline(W.rt[0]);
        if (next > d) next = d;
        if (d <= 0 || W.failures) return;
        CHECK_EQ(crt_time_advance(W.rt[0], next), 0);
        d -= next;
    }
}
static bool all_ended(void)
{
    pthread_mutex_lock(&arena_lock);
    record *r = W.records;
    pthread_mutex_unlock(&arena_lock);
    for (; r; r = r->next) if (GET(&r->spawned) && GET(&r->ended) != 1) return false;
    return GET(&W.jobs) == 0;
}

// ---- the world begins -----------------------------------------------------------------

static void on_thread_start(void *data) { (void)data, ADD(&W.thread_starts, 1); }
static void on_thread_stop(void *data) { (void)data, ADD(&W.thread_stops, 1); }
static void on_park(void *data) { (void)data, ADD(&W.parks, 1); }
static void on_unpark(void *data) { (void)data, ADD(&W.unparks, 1); }
static void on_before(void *data, const crt_task_meta *m) { (void)data, (void)m, ADD(&W.befores, 1); }
static void on_after(void *data, const crt_task_meta *m) { (void)data, (void)m, ADD(&W.afters, 1); }
static void on_spawn(void *data, const crt_task_meta *m) { (void)data, (void)m, ADD(&W.spawned, 1); }
static void on_terminate(void *data, const crt_task_meta *m)
{
    (void)data, (void)m;
    ADD(&W.terminated, 1);
    if (chance(8) == 0) meddle(NULL);
}

static void make_shared(void)
{
    letter first = new_letter(0, 0);
    crt_watch_rx *rx;
    pthread_mutex_init(&W.lock, NULL);
    for (int i = 0; i < POOL; i++) pthread_mutex_init(&W.pool[i].lock, NULL);
    for (int i = 0; i < OF_EACH; i++) crt_semaphore_init(&W.sem[i], W.permits[i] = 1 + made(3));
    crt_barrier_init(&W.barrier, W.barrier_size = 2 + made(2));
    for (int i = 0; i < CHANNELS; i++) {
        CHECK_EQ(crt_mpsc_new(sizeof(letter), i ? 1 + made(3) : 0, &W.tx[i], &W.rx[i]), 0);
        crt_mpsc_on_drop(W.rx[i], letter_dropped, NULL);
    }
    CHECK_EQ(crt_broadcast_new(sizeof(letter), 1 + made(4), &W.news), 0);
    crt_broadcast_set_ops(W.news, &(crt_elem_ops){value_cloned, value_dropped, &W.news_alive});
    W.watch_alive = 1;
    CHECK_EQ(crt_watch_new(sizeof(letter), &first, &W.watched, &rx), 0);
    crt_watch_set_ops(W.watched, &(crt_elem_ops){value_cloned, value_dropped, &W.watch_alive});
    crt_watch_rx_drop(&rx);
    W.token[0] = crt_cancel_token_new();
    for (int i = 1; i < TOKENS; i++) W.token[i] = crt_cancel_token_child(W.token[made((uint32_t)i)]);
    W.done = crt_cancel_token_new();
}
static void configure_hooks(crt_config *c)
{
    c->on_thread_start = on_thread_start;
    c->on_thread_stop = on_thread_stop;
    c->on_thread_park = on_park;
    c->on_thread_unpark = on_unpark;
    c->on_task_spawn = on_spawn;
    c->on_task_terminate = on_terminate;
    c->on_before_poll = on_before;
    c->on_after_poll = on_after;
}
static void configure(crt_config *c)
{
    c->flavor = W.alone || made(3) == 0 ? CRT_CURRENT_THREAD : CRT_MULTI_THREAD;
    c->worker_threads = 1 << made(3);
    c->start_paused = W.alone;
    if (made(2)) c->max_blocking_threads = 1 + (int)made(3);
    if (made(3) == 0) c->event_interval = 1 + (int)made(3);
    if (made(3) == 0) c->global_queue_interval = 1 + (int)made(2);
    if (made(3) == 0) c->max_io_events = 1;
    if (made(3) == 0) c->thread_keep_alive = CRT_US(made(2000) + 1);
    if (made(3) == 0) c->schedule_histogram = CRT_HISTOGRAM_LINEAR;
    if (made(3) == 0) c->poll_histogram = CRT_HISTOGRAM_LOG;
    c->disable_lifo_slot = made(3) == 0;
    c->seed = made(1000) + 1;
    c->log.func = on_log;
    c->log.level = made(2) ? CRT_LOG_DEBUG : CRT_LOG_WARN;
    if (made(2)) configure_hooks(c);
}
static void make_runtimes(void)
{
    W.runtimes = W.alone ? 1 : 1 + (int)made(RUNTIMES);
    for (int i = 0; i < W.runtimes; i++) {
        configure(&W.config[i]);
        CHECK_EQ(crt_runtime_new(&W.config[i], &W.rt[i]), 0);
        W.handle[i] = crt_runtime_handle(W.rt[i]);
        W.open[i] = 1;
    }
}
enum { MOST_TASKS = 16 };
static int make_tasks(task *tasks)
{
    uint32_t without = W.alone ? THREADS : 0;
    int n = 2 + (int)made(MOST_TASKS - 2), depth = 2 + (int)made(4);
    W.steps_left = 400;
    for (int i = 0; i < n; i++) {
        step *body = grow(depth, without);
        tasks[i] = new_task(body, made(3) ? NULL : grow(1, WAITS | LOCKS | without), NULL);
    }
    return n;
}
static void spawn_tasks(task *tasks, int n)
{
    for (int i = 0; i < n; i++) {
        crt_join_handle *join = NULL;
        is_spawned(tasks[i].who);
        int r = crt_handle_spawn_join(W.handle[made((uint32_t)W.runtimes)], &join, task_run, &tasks[i]);
        if (counted(r, tasks[i].who)) {
            give_abort_handle(join);
            give_handle(join, tasks[i].who);
        }
        if (!W.alone && chance(4) == 0) test_pause_us(chance(200));
    }
}

// ---- other threads --------------------------------------------------------------------

typedef struct until_done { crt_frame co; } until_done;
static crt_poll until_done_run(void *frame, crt_cx *cx)
{
    until_done *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_cancelled(cx, W.done));
    CRT_END;
}
// A foreign loop waits for the poll descriptor, or for the next timer. Two that drive by turns, or a shutdown, may take
// what made it readable from each other: then it looks again soon.
static void wait_for_work(int i)
{
    crt_duration d = W.drivers[i] > 1 || W.ending != BY_ITSELF ? CRT_MS(1) : crt_runtime_next_deadline(W.rt[i]);
#ifdef _WIN32   // there is no descriptor to poll
    (void)d;
    test_pause_us(500);
#else
    struct pollfd p = {.fd = (int)crt_runtime_poll_fd(W.rt[i]), .events = POLLIN};
    poll(&p, 1, d > CRT_MS(10) ? 10 : (int)((d + 999999) / 1000000));
#endif
}
static bool drive_by_turn(int i)   // false: no more
{
    int r = crt_runtime_turn(W.rt[i], chance(2) ? 0 : CRT_US(200));
    expect(r >= 0 || r == CRT_EBUSY || r == CRT_ESHUTDOWN, "crt_runtime_turn", r);
    if (r == CRT_EBUSY) test_pause_us(300);
    else if (r >= 0) wait_for_work(i);
    return r != CRT_ESHUTDOWN;
}
static bool drive_by_block_on(int i)
{
    crt_poll r = crt_handle_block_on(W.handle[i], until_done_run, &(until_done){.co = {0}});
    expect(r == 0 || r == CRT_ENOMEM || r == CRT_ESHUTDOWN || r == CRT_ECANCELED, "a driver's block_on", r);
    return r == 0 || r == CRT_ENOMEM;
}
static void *driver(void *arg)
{
    int i = (int)(intptr_t)arg;
    bool turns = chance(2);
    while (!GET(&W.stop) && (turns ? drive_by_turn(i) : drive_by_block_on(i))) {}
    return NULL;
}
typedef struct stranger { step *program[3]; int used; } stranger;
static void stranger_blocks(stranger *self, int i)
{
    if (self->used == 3) return;
    task *f = lasting(sizeof *f);
    *f = new_task(self->program[self->used++], NULL, NULL);
    f->who->in_block_on = 1;
    crt_poll r = crt_handle_block_on(W.handle[i], task_run, f);
    expect(r < 0 || r == result_of(f->who), "crt_handle_block_on", r);
    if (r > 0 && f->who->ended != 1) fail("block_on ended before its task");
}
static void stranger_joins(void)
{
    record *who = NULL;
    intptr_t result = 0;
    crt_join_handle *h = take_handle(&who);
    if (!h) return;
    crt_abort(h);
    int r = crt_join_blocking(&h, &result);
    check_join(r, result, who);
    crt_detach(&h);
}
static void *stranger_run(void *arg)
{
    crt_runtime_metrics m;
    crt_worker_metrics worker;
    while (!GET(&W.closing)) {
        int i = (int)chance((uint32_t)W.runtimes);
        meddle(NULL);
        switch (chance(10)) {
        case 0: (void)crt_metrics(W.rt[i], &m); break;
        case 1: (void)crt_metrics_worker(W.rt[i], (int)chance(4), &worker); break;
        case 2: (void)crt_dump(W.rt[i], nowhere); break;
        case 3: stranger_blocks(arg, i); break;
        case 4: stranger_joins(); break;
        case 5: (void)crt_handle_spawn_blocking(W.handle[i], NULL, meddling_job, NULL); break;
        default: test_pause_us(chance(300));
        }
    }
    return NULL;
}
typedef struct shutdown_of { int i; crt_duration within; } shutdown_of;
static void *shutdown_run(void *arg)
{
    shutdown_of *s = arg;
    int r = crt_runtime_shutdown(W.rt[s->i], s->within);
    expect(r == 0 || (r > 0 && s->within != CRT_FOREVER), "crt_runtime_shutdown", r);
    return NULL;
}

// ---- the world ends -------------------------------------------------------------------

static pthread_t begun(void *(*f)(void *), void *arg)
{
    pthread_t t;
    if (pthread_create(&t, NULL, f, arg)) abort();
    return t;
}
static crt_duration patience_of_shutdown(void)
{
    if (W.ending == BY_SHUTDOWN) return CRT_FOREVER;
    return W.alone || chance(2) ? 0 : CRT_US(chance(3000));   // of real time
}
static void shut_down(void)
{
    pthread_t threads[RUNTIMES];
    shutdown_of of[RUNTIMES];
    for (int i = 0; i < W.runtimes; i++) {
        of[i] = (shutdown_of){i, patience_of_shutdown()};
        SET(&W.open[i], 0);
        if (W.alone) {
            shutdown_run(&of[i]);
            return;
        }
        threads[i] = begun(shutdown_run, &of[i]);
        if (chance(2)) test_pause_us(chance(1000));
    }
    for (int i = 0; i < W.runtimes; i++) pthread_join(threads[i], NULL);
}
static void close_all(void)
{
    SET(&W.closing, 1);
    crt_cancel_token_cancel(W.token[0]);
    for (int i = 0; i < OF_EACH; i++) crt_semaphore_close(&W.sem[i]);
    pthread_mutex_lock(&W.lock);
    for (int i = 0; i < CHANNELS; i++) crt_mpsc_tx_drop(&W.tx[i]);
    crt_broadcast_tx_drop(&W.news);
    crt_watch_tx_drop(&W.watched);
    pthread_mutex_unlock(&W.lock);
}
// What nobody else gives any more.
static void help_out(void)
{
    for (int i = 0; i < OF_EACH; i++) crt_notify_waiters(&W.notify[i]), crt_notify_one(&W.notify[i]);
    for (int i = 0; i < CHANNELS; i++) {
        if (SWAP(&W.reading[i], 1)) continue;
        crt_mpsc_rx_close(W.rx[i]);
        SET(&W.reading[i], 0);
    }
    for (uint32_t i = 0; i < POOL; i++) {
        pthread_mutex_lock(&W.pool[i].lock);
        crt_wake(&W.pool[i].waker);
        pool_leave(i);
    }
}
static void say_who_is_left(void)
{
    for (record *r = W.records; r; r = r->next)
        if (GET(&r->spawned) && GET(&r->ended) != 1)
            fail("task %d does not end (began %d, cleans up %d)", r->id, r->starts, r->ends);
    for (int i = 0; i < W.runtimes; i++) (void)crt_dump(W.rt[i], stderr);
}
static double clock_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static bool end_by_itself_alone(void)
{
    for (int rounds = 0; !all_ended(); rounds++) {
        if (rounds == 2000) return false;   // of a virtual millisecond: no step waits for one hundredth of it
        help_out();
        pass(CRT_MS(1));
    }
    help_out();
    if (W.turns && crt_runtime_next_deadline(W.rt[0]) != CRT_FOREVER) fail("a timer is left");
    return true;
}
static bool end_by_itself(void)
{
    double begin = clock_s();
    for (int quiet = 0; quiet < 3;) {
        help_out();
        quiet = all_ended() ? quiet + 1 : 0;
        if (clock_s() - begin > test_patience(30)) return false;
        test_pause_us(200);
    }
    return true;
}

// ---- what is left ---------------------------------------------------------------------

static void check_step(step *s)
{
    bool holds = s->held || s->join || s->tx || s->orx || s->otx || s->brx || s->wrx;
    holds = holds || s->mine || s->theirs || s->waker.vtable;
    if (!by_force() && (s->running || holds))
        fail("step %d, %s is left %s", s->id, s->kind->name, s->running ? "in the middle" : "with something");
}
// What a shutdown by force has left; of others there is nothing.
static void free_step(step *s)
{
    if (s->held && !s->owner) {
        if (s->kind->run == reserve_run) crt_mpsc_unreserve(s->tx);
        if (s->kind->run == sem_run) crt_semaphore_release(&W.sem[which(s)], (size_t)s->held);
        if (s->kind->run == mutex_run) mutex_free(s);
        if (s->kind->run == rwlock_run) rwlock_free(s);
#ifndef _WIN32
        if (s->kind->run == fd_run) close(s->fd[0]), close(s->fd[1]);
#endif
    }
    crt_detach(&s->join);
    crt_mpsc_tx_drop(&s->tx);
    crt_oneshot_rx_drop(&s->orx);
    crt_oneshot_tx_drop(&s->otx);
    crt_broadcast_rx_drop(&s->brx);
    crt_watch_rx_drop(&s->wrx);
    crt_close(&s->mine);
    crt_close(&s->theirs);
    crt_waker_drop(&s->waker);
    crt_task_tracker_drop(&s->tracker);
    crt_join_set_drop(&s->set);
    crt_join_map_drop(&s->map);
    crt_delay_queue_clear(&s->queue);
    crt_delay_queue_drop(&s->queue);
}
static void free_pool(void)
{
    for (int i = 0; i < POOL; i++) {
        intptr_t result = 0;
        record *who = W.pool[i].who;
        if (W.pool[i].join && !crt_is_finished(W.pool[i].join)) fail("task %d is not finished after the end", who->id);
        else if (W.pool[i].join) {
            int r = crt_join_blocking(&W.pool[i].join, &result);
            if (!by_force()) check_join(r, result, who);
        }
        crt_detach(&W.pool[i].join);
        crt_abort_handle_drop(&W.pool[i].abort);
        crt_waker_drop(&W.pool[i].waker);
        pthread_mutex_destroy(&W.pool[i].lock);
    }
}
static void check_letter(uint32_t i)
{
    int was_sent = W.letters[i].sent, got = W.letters[i].received, dropped = W.letters[i].dropped;
    if (was_sent != got + dropped) fail("letter %u: sent %d, received %d, dropped %d", i, was_sent, got, dropped);
}
static void check_shared(void)
{
    for (int i = 0; i < CHANNELS; i++) crt_mpsc_rx_drop(&W.rx[i]);
    for (int i = 0; i < OF_EACH; i++) {
        CHECK_EQ(crt_semaphore_available(&W.sem[i]), W.permits[i]);
        CHECK_EQ(crt_mutex_try_lock(&W.mutex[i]), 0);
        CHECK_EQ(crt_rwlock_try_write(&W.rwlock[i]), 0);
        CHECK_EQ(crt_once_cell_is_set(&W.once[i]), W.once_value[i]);
        CHECK_EQ(W.inside[i], 0);
        CHECK_EQ(W.readers[i], 0);
    }
    for (uint32_t i = 0; i < LETTERS && W.letter_count < LETTERS; i++)
        check_letter(i);
    CHECK_EQ(W.news_alive, 0);
    CHECK_EQ(W.watch_alive, 0);
    CHECK_EQ(W.spawned, W.terminated);
    CHECK_EQ(W.thread_starts, W.thread_stops);
    CHECK_EQ(W.parks, W.unparks);
    CHECK_EQ(W.befores, W.afters);
    CHECK_EQ(W.polls, 0);
}
static void check_record(const record *r)
{
    bool ran = r->spawned || (r->in_block_on && r->starts);
    if (!ran && !r->in_block_on && (r->starts || r->ends)) fail("task %d ran, though it could not be spawned", r->id);
    if (ran && (by_force() ? r->ended > 1 : r->ended != 1))
        fail("task %d ended %d times (began %d)", r->id, r->ended, r->starts);
    if (r->has_local != r->local_drops) fail("task %d: its local was dropped %d times", r->id, r->local_drops);
    if (r->storage && r->spawned && crt_task_storage_busy(r->storage))
        fail("task %d: its memory is busy after the end", r->id);
}
static void free_all(void)
{
    free_pool();
    for (step *s = W.steps; s; s = s->next) check_step(s);
    for (step *s = W.steps; s; s = s->next) free_step(s);
    check_shared();
    for (record *r = W.records; r; r = r->next) check_record(r);
    for (int i = TOKENS; i--;) crt_cancel_token_drop(&W.token[i]);
    crt_cancel_token_drop(&W.done);
    for (int i = 0; i < W.runtimes; i++) crt_handle_drop(&W.handle[i]);
    pthread_mutex_destroy(&W.lock);
}

// ---- one seed -------------------------------------------------------------------------

static void begin(uint32_t seed, int only)
{
    memset(&W, 0, sizeof W);
    W.seed = seed;
    W.made = 0x9E3779B97F4A7C15ull * (seed + 1ull);
    for (int i = 0; i < 8; i++) (void)made(2);
    thread_chance = W.made ^ 0xabcdef;
    SET(&threads_met, (uint64_t)seed << 20);
    W.alone = only ? only == 1 : seed % 4 != 0;
    W.turns = made(4) != 0;
    W.ending = (enum ending)made(3);
    W.faulty = made(6) == 0;
}
// False: it hangs, or may, as something was wrong; no memory can be taken back.
static bool run_alone(task *tasks, int n)
{
    spawn_tasks(tasks, n);
    pass(CRT_US(made(20000)));
    if (W.failures) return false;
    SET(&fault_rate, 0);
    if (W.ending != BY_ITSELF) shut_down();
    close_all();
    return W.ending != BY_ITSELF || end_by_itself_alone();
}
static bool run_with_threads(task *tasks, int n)
{
    pthread_t threads[2 * RUNTIMES + 2], *last = threads;
    stranger strangers[2] = {{.used = 0}};
    int strangers_met = (int)made(3);
    for (int i = 0; i < strangers_met; i++)
        for (int j = 0; j < 3; j++) strangers[i].program[j] = grow(2, WAITS | LOCKS);
    for (int i = 0; i < W.runtimes; i++)
        if (W.config[i].flavor == CRT_CURRENT_THREAD) W.drivers[i] = 1 + (int)made(2);
    for (int i = 0; i < W.runtimes; i++)
        for (int k = 0; k < W.drivers[i]; k++) *last++ = begun(driver, (void *)(intptr_t)i);
    for (int i = 0; i < strangers_met; i++) *last++ = begun(stranger_run, &strangers[i]);
    spawn_tasks(tasks, n);
    test_pause_us(chance(6000));
    SET(&fault_rate, 0);
    if (W.ending != BY_ITSELF) shut_down();
    close_all();
    if (W.ending == BY_ITSELF && !end_by_itself()) return false;
    SET(&W.stop, 1);
    crt_cancel_token_cancel(W.done);
    while (last != threads) pthread_join(*--last, NULL);
    return true;
}
static void end_of_threads(int before)
{
    double begin = clock_s();
    while (test_thread_count() > before || GET(&W.polls) || GET(&W.jobs)) {
        test_pause_us(100);
        if (clock_s() - begin < test_patience(30)) continue;
        fail("threads are left");
        return;
    }
}
static int only_world;   // 1: alone; 2: with threads
static uint64_t run_seed(uint32_t seed)
{
    task tasks[MOST_TASKS];
    long blocks_before = GET(&blocks);
    int fds = test_fd_count(), threads = test_thread_count();
    snprintf(test__name, sizeof test__name, "programs (replay: SEED=%u .build/test_programs)", seed);
    test__set_alarm(test_patience(60));
    begin(seed, only_world);
    make_shared();
    make_runtimes();
    int n = make_tasks(tasks);
    SET(&fault_rate, W.faulty ? 60 : 0);
    bool ended = W.alone ? run_alone(tasks, n) : run_with_threads(tasks, n);
    if (!ended) {
        if (!W.failures) say_who_is_left();
        return 0;
    }
    for (int i = 0; i < W.runtimes; i++) {
        SET(&W.open[i], 0);
        crt_runtime *rt = W.rt[i];   // which tasks of the others still compare theirs with
        crt_runtime_drop(&rt);
    }
    end_of_threads(threads);
    free_all();
    // On Windows a thread that has ended, and what the system still held of a socket, give theirs back a little later.
    for (int i = 0; i < 20000 && GET(&blocks) != blocks_before; i++) test_pause_us(200);
    if (GET(&blocks) != blocks_before) fail("%ld blocks of memory are left", GET(&blocks) - blocks_before);
    if (test_fd_count() != fds) fail("%d descriptors are left", test_fd_count() - fds);
    uint64_t trace = W.trace;
    arena_clear();
    return trace;
}
static uint32_t number(const char *name, uint32_t otherwise)
{
    const char *s = getenv(name);
    return s ? (uint32_t)strtoul(s, NULL, 10) : otherwise;
}
static void programs(void)
{
    uint32_t first = number("SEED", number("FIRST", 1)), seeds = getenv("SEED") ? 1 : number("SEEDS", 1000);
    uint64_t traces = 0;   // the same for every compiler
    for (uint32_t seed = first; seed < first + seeds; seed++)
        for (uint32_t times = number("TIMES", 1); times--;) {
            traces = (traces ^ run_seed(seed)) * 0x100000001b3u;
            if (!test__bad) continue;
            fprintf(stderr, "found in program %u; replay: SEED=%u .build/test_programs\n", seed - first + 1, seed);
            if (arena) {   // it hangs, and so would what comes after
                test__done();
                exit(test_end());
            }
            return;
        }
    printf("%u programs, those alone: trace %016llx\n", seeds, (unsigned long long)traces);
}
// What a program alone does depends on nothing but the seed.
static void alone_the_same_seed_does_the_same(void)
{
    uint64_t different = 0;
    only_world = 1;
    for (uint32_t seed = 1; seed <= 20 && !test__bad; seed++) {
        uint64_t trace = run_seed(seed);
        CHECK(trace == run_seed(seed));
        different |= trace ^ run_seed(1);
    }
    CHECK(different != 0);
}
// A sanitizer has a thread of its own from the first on, and tmpfile() may be the first of files.
static void *nothing(void *arg) { return arg; }
static void warm_up(void) { pthread_join(begun(nothing, NULL), NULL); }
int main(int argc, char **argv)
{
    (void)test__on_each;
    const char *world = getenv("WORLD");
    if (world) only_world = strcmp(world, "alone") ? 2 : 1;
    else if (!test_thread_count()) only_world = 1;   // nobody tells when those that a shutdown leaves have ended
    nowhere = tmpfile();
    test_init(argc, argv);
    warm_up();
    TEST(programs);
#ifdef _WIN32   // a pair is two sockets of TCP there: what one writes comes to the other some time later
    (void)alone_the_same_seed_does_the_same;
#else
    TEST(alone_the_same_seed_does_the_same);
#endif
    fclose(nowhere);
    return test_end();
}
