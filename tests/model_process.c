// model_process.c - children: who waits for one, who closes its handle, who reaps it, and the end of its runtime.
//
// Promise: each child is reaped exactly once, by whoever comes first, and no signal goes to a number that has been
// reaped; who waits hears of its end or that it is closed, and touches nothing that is gone, although its record may
// be another child's by then; a runtime that has ended is not held by children that go on.
// The kernel is a word for each child; events come from the one thread that is in the driver.
#include <signal.h>
#include <sys/wait.h>

static int model_waitid(int pid, siginfo_t *info);
static int model_kill(int pid, int sig);
#define waitid(kind, id, info, how) model_waitid((int)(id), (info))
#define kill(pid, sig) model_kill((pid), (sig))
#include "model_platform.h"

enum { CHILDREN = 2, FIRST_PID = 100, CODE = 5 };
enum { LIVES, ENDED, REAPED };
static crt__sock table[64];
static uint32_t life[CHILDREN];   // atomic
static crt_process *child[CHILDREN];
static uint64_t token[CHILDREN];
static int made, told, heard_closed, unwinds, closed_calls;
static crt_join_handle *handle;

static int model_waitid(int pid, siginfo_t *info)
{
    uint32_t was = ENDED, *word = &life[pid - FIRST_PID];
    if (crt__atomic_load(word, ACQUIRE) == LIVES) return 0;
    EX_ASSERT(crt__atomic_cas(word, &was, REAPED, ACQ_REL, ACQUIRE));   // once
    info->si_pid = pid;
    info->si_code = CLD_EXITED;
    info->si_status = CODE;
    return 0;
}
static int model_kill(int pid, int sig)
{
    uint32_t was = crt__atomic_load(&life[pid - FIRST_PID], ACQUIRE);
    EX_ASSERT(sig == SIGKILL && was != REAPED);
    crt__atomic_cas(&life[pid - FIRST_PID], &was, ENDED, ACQ_REL, ACQUIRE);
    return 0;
}
static void kernel_closed(crt__fd fd)
{
    (void)fd;
    closed_calls++;
}
// As the end of a spawn does: linked, then watched.
static void link_one(int i)
{
    crt_process *p = ex_calloc(1, sizeof *p);
    p->rt = &rt;
    crt__atomic_add(&rt.refs, 1, RELAXED);
    p->pid = FIRST_PID + i;
    crt__process_link(p);
    child[i] = p;
    made++;
}
static void watch_one(int i)
{
    crt_process *p = child[i];
    EX_ASSERT(crt__sock_new(&rt, 3 + i, 0, &p->sock) == 0);
    crt__process_watched(p->sock);
    token[i] = crt__sock_token(p->sock);
}
static void setup(int children)
{
    model_runtime(1);
    model_watch(table, sizeof table);
    model_watch(&crt__children, sizeof crt__children);
    memset(table, 0, sizeof table);
    memset(&crt__children, 0, sizeof crt__children);
    memset(life, 0, sizeof life);
    rt.sock_table[0] = table;
    reactor.closed = kernel_closed;
    model_reactor = &reactor;
    made = told = heard_closed = unwinds = closed_calls = 0;
    handle = NULL;
    for (int i = 0; i < children; i++) link_one(i), watch_one(i);
}
// Nothing is left of anybody.
static void all_gone(void)
{
    EX_ASSERT(!crt__children.first && rt.refs == 2 && closed_calls == made);
    for (int i = 0; i < made; i++) EX_ASSERT(life[i] == REAPED && !table[i].waiters && !table[i].child);
}
static void ends(void *arg)
{
    intptr_t i = (intptr_t)arg;
    crt__atomic_store(&life[i], ENDED, RELEASE);
    crt__lock(&rt.driver_lock);
    crt__io_event(&rt, token[i], CRT__READABLE);
    crt__unlock(&rt.driver_lock);
}
static void closes(void *arg) { crt_process_close(&child[(intptr_t)arg]); }

typedef struct wait_frame {
    crt_process *p;
    bool spent;   // the first poll has no budget left
} wait_frame;
static crt_poll wait_run(void *frame, crt_cx *cx)
{
    wait_frame *self = frame;
    crt_exit_status status = {.code = -1};
    if (self->spent) cx->budget = 0;
    self->spent = false;
    crt_poll r = crt_process_wait(cx, self->p, &status);
    if (r == CRT_PENDING) return r;
    EX_ASSERT(r == 0 || r == CRT_ECLOSED || r == CRT_UNWIND);
    if (r == 0) EX_ASSERT(status.code == CODE);
    told += r == 0;
    heard_closed += r == CRT_ECLOSED;
    unwinds += r == CRT_UNWIND;
    return r == CRT_UNWIND ? r : 0;
}
static void start_wait(bool spent, bool join)
{
    wait_frame f = {child[0], spent};
    crt_task *t = model_task(wait_run, &f, sizeof f, join);
    if (join) handle = model_handle(t);
    crt__list_push(&workers[0].fifo, t);
}
static void first_poll(void)
{
    crt_cx cx;
    bool from_lifo;
    model_enter(&workers[0], &cx);
    crt__run_task(&workers[0], &cx, crt__next_task(&workers[0], &from_lifo));
}

// --- the end of a child

static void wait_against_end(void)
{
    setup(1);
    start_wait(false, false);
    int a = ex_spawn(ends, (void *)0);
    model_run_until(&workers[0], 1);
    ex_join(a);
    EX_ASSERT(told == 1);
    crt_process_close(&child[0]);
    all_gone();
}
static void two_wait(void)
{
    setup(1);
    start_wait(false, false);
    start_wait(false, false);
    int a = ex_spawn(ends, (void *)0);
    model_run_until(&workers[0], 2);
    ex_join(a);
    EX_ASSERT(told == 2);
    crt_process_close(&child[0]);
    all_gone();
}
static void abort_it(void *arg)
{
    (void)arg;
    crt_abort(handle);
    crt_detach(&handle);
}
static void end_against_abort(void)
{
    setup(1);
    start_wait(false, true);
    int a = ex_spawn(ends, (void *)0), b = ex_spawn(abort_it, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    EX_ASSERT(told + unwinds == 1);
    crt_process_close(&child[0]);
    all_gone();
}

// --- a handle is closed

static void end_against_close(void)
{
    setup(1);
    int a = ex_spawn(ends, (void *)0);
    closes((void *)0);
    ex_join(a);
    all_gone();
}
// It goes on after its handle is gone: who waits for it must not wait for its end.
static void close_against(bool spent)
{
    setup(1);
    start_wait(spent, false);
    first_poll();
    int a = ex_spawn(closes, (void *)0);
    model_run_until(&workers[0], 1);
    ex_join(a);
    EX_ASSERT(heard_closed == 1);
    ends((void *)0);
    all_gone();
}
static void close_against_wait(void) { close_against(false); }
static void close_against_yield(void) { close_against(true); }
static void close_and_end_against_wait(void)
{
    setup(1);
    start_wait(false, false);
    first_poll();
    int a = ex_spawn(ends, (void *)0), b = ex_spawn(closes, (void *)0);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    EX_ASSERT(told + heard_closed == 1);
    all_gone();
}
// Closed and swept while its end wakes who waits; the record then belongs to another child.
static void close_and_make(void *arg)
{
    link_one(1);   // whose start is under way
    closes(arg);
    watch_one(1);
}
static void record_of_another(void)
{
    setup(1);
    start_wait(false, false);
    first_poll();
    ends((void *)0);   // it is on its way to see that
    int a = ex_spawn(close_and_make, (void *)0);
    model_run_until(&workers[0], 1);
    ex_join(a);
    EX_ASSERT(told + heard_closed == 1);
    closes((void *)1);
    ends((void *)1);
    all_gone();
}
static void two_ends_are_swept(void)
{
    setup(2);
    closes((void *)0);
    closes((void *)1);
    int a = ex_spawn(ends, (void *)0);
    ends((void *)1);
    ex_join(a);
    all_gone();
}
static void closes_stdin(void *arg)
{
    (void)arg;
    crt__process_close_stdin(child[0]);
}
static void two_close_stdin(void)
{
    crt__sock *in;
    setup(1);
    EX_ASSERT(crt__sock_new(&rt, 9, 0, &in) == 0);
    child[0]->io[0] = (crt_stream *)in;
    int a = ex_spawn(closes_stdin, NULL);
    closes_stdin(NULL);
    ex_join(a);
    EX_ASSERT(closed_calls == 1 && in->refs == 0 && rt.sock_free == in);
    closed_calls = 0;
    ends((void *)0);
    closes((void *)0);
    all_gone();
}

// --- the runtime ends

static void end_all(void *arg)
{
    (void)arg;
    crt__atomic_store(&rt.ended, 1, SEQ_CST);
    crt__process_end_all(&rt);
}
static void close_against_the_end(bool kill_on_drop)
{
    setup(1);
    child[0]->kill_on_drop = kill_on_drop;
    int a = ex_spawn(end_all, NULL);
    closes((void *)0);
    ex_join(a);
    EX_ASSERT(rt.refs == 2 && closed_calls == 1);   // it goes on, and holds nothing
    if (!kill_on_drop) {
        EX_ASSERT(life[0] == LIVES);
        life[0] = ENDED;
        crt__process_sweep();
    }
    all_gone();
}
static void orphan(void) { close_against_the_end(false); }
static void killed(void) { close_against_the_end(true); }

static const model table_of_models[] = {
    {.name = "a child ends while a task goes to wait", .run = wait_against_end},
    {.name = "two tasks wait for one", .run = two_wait},
    {.name = "a child ends while its task is aborted", .run = end_against_abort},
    {.name = "a child ends while its handle is closed", .run = end_against_close},
    {.name = "closed under a task that waits", .run = close_against_wait},
    {.name = "closed under a task that waits for its budget", .run = close_against_yield},
    {.name = "closed under a task that waits, and it ends", .run = close_and_end_against_wait},
    {.name = "swept while its end is told; the record is another's", .run = record_of_another},
    {.name = "two children without handles end", .run = two_ends_are_swept},
    {.name = "two tasks begin to wait: its stdin closes once", .run = two_close_stdin},
    {.name = "the runtime ends while a handle is closed", .run = orphan},
    {.name = "the same, and the child is to die with it", .run = killed},

    {.name = "seed: the end of a child sweeps nothing", .run = end_against_close,
     .seed = {"crt__sock_event", "load &s->child", MODEL_VALUE, 0, NULL, 0}},
    {.name = "seed: who has waited takes the record for its child's", .run = record_of_another,
     .seed = {"crt__process_look_again", "load &s->child", MODEL_VALUE, CRT__CHILD_OPEN, NULL, 0}},
    {.name = "seed: children are reaped without the lock", .run = end_against_close,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, &crt__children.lock, 0}},
    {.name = "seed: a stream is taken in two steps", .run = two_close_stdin,
     .seed = {"crt__process_take", "xchg &p->io[i]", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: who closes does not look whether the runtime has ended", .run = orphan,
     .seed = {"crt_process_close", "load &rt->ended", MODEL_VALUE, 0, NULL, 0}},
};
MODEL_MAIN(table_of_models)
