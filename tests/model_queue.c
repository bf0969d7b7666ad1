// model_queue.c - the injection queue and the ring of crt.h under every interleaving.
//
// Promise: whatever producers, the owner and thieves do at the same time, each task
// comes out exactly once, with what its producer wrote; nothing stays behind.
#include "model_platform.h"

enum { MOST = 12 };
static crt_task tasks[MOST];
static int payload[MOST];    // written by the producer, read by whoever gets the task
static uint32_t taken[MOST]; // how often it came out
static crt__inject queue;

static void setup(void)
{
    model_runtime(MODEL_WORKERS);
    model_watch(&queue, sizeof queue);
    model_watch(tasks, sizeof tasks);
    crt__inject_init(&queue);
    memset(tasks, 0, sizeof tasks);
    memset(taken, 0, sizeof taken);
    memset(payload, 0, sizeof payload);
}
static crt_task *make(int i)
{
    EX_WRITE(payload[i]) = i + 1;
    return &tasks[i];
}
static void take(crt_task *t)
{
    int i = (int)(t - tasks);
    EX_ASSERT(i >= 0 && i < MOST);
    EX_ASSERT(EX_READ(payload[i]) == i + 1);
    EX_ASSERT(++taken[i] == 1);
}
static void all_taken(int n)
{
    for (int i = 0; i < MOST; i++) EX_ASSERT(taken[i] == (uint32_t)(i < n));
}

// --- injection queue

static void produce_one(void *arg)
{
    int i = (int)(intptr_t)arg;
    crt_task *t = make(i);
    crt__inject_push(&queue, t, t, 1);
}
// Two at once, linked by the producer, as the ring's overflow does.
static void produce_chain(void *arg)
{
    int i = (int)(intptr_t)arg;
    crt_task *a = make(i), *b = make(i + 1);
    crt__atomic_store(&a->next, b, RELAXED);
    crt__inject_push(&queue, a, b, 2);
}
static void consume(int n)
{
    while (n) {
        crt_task *t = crt__inject_pop(&queue);
        if (t) take(t), n--;
        else crt__cpu_relax();
    }
}
static void consume_two(void *arg)
{
    (void)arg;
    consume(2);
}
static void drained(int n)
{
    EX_ASSERT(crt__inject_length(&queue) == 0);
    EX_ASSERT(crt__inject_pop(&queue) == NULL);
    EX_ASSERT(crt__inject_take(&queue) == NULL);
    all_taken(n);
}
static void two_producers(void)
{
    setup();
    int a = ex_spawn(produce_one, (void *)0), b = ex_spawn(produce_chain, (void *)1);
    consume(3);
    ex_join(a), ex_join(b);
    drained(3);
}
// The queue runs empty between pushes: the dummy goes through it again and again.
static void push_twice(void *arg)
{
    produce_one(arg);
    produce_one((void *)((intptr_t)arg + 1));
}
static void through_the_dummy(void)
{
    setup();
    int a = ex_spawn(push_twice, (void *)0);
    consume(2);
    int b = ex_spawn(produce_one, (void *)2);
    ex_join(a);
    consume(1);
    ex_join(b);
    drained(3);
}
static void two_consumers(void)
{
    setup();
    int a = ex_spawn(produce_chain, (void *)0), b = ex_spawn(produce_chain, (void *)2);
    int c = ex_spawn(consume_two, NULL);
    consume(2);
    ex_join(a), ex_join(b), ex_join(c);
    drained(4);
}
// What decides whether a worker may sleep: a push that has returned is seen as a length.
static void length_covers(void)
{
    setup();
    int a = ex_spawn(produce_one, (void *)0);
    ex_join(ex_spawn(produce_one, (void *)1));
    EX_ASSERT(crt__inject_length(&queue) >= 1);
    consume(1);
    ex_join(a);
    EX_ASSERT(crt__inject_length(&queue) == 1);
    consume(1);
    drained(2);
}
// A share of the injection queue goes into the ring, while a thief looks at it.
static void thief_of_0(void *arg)
{
    uint32_t n;
    crt_task *t = crt__ring_steal(&rings[0], &rings[(intptr_t)arg], &n);
    if (t) take(t);
    while ((t = crt__ring_pop(&rings[(intptr_t)arg]))) take(t);
}
static void take_share(void)
{
    setup();
    rt.worker_count = 1;   // one share is all of it
    for (int i = 0; i < 3; i++) crt__inject_push(&rt.inject, make(i), &tasks[i], 1);
    int a = ex_spawn(thief_of_0, (void *)1);
    crt_task *t = crt__take_injected(&workers[0], false);
    EX_ASSERT(t);
    take(t);
    while ((t = crt__ring_pop(&rings[0]))) take(t);
    ex_join(a);
    while ((t = crt__inject_pop(&rt.inject))) take(t);
    all_taken(3);
}

// --- ring

static void owner_pops_all(void)
{
    crt_task *t;
    while ((t = crt__ring_pop(&rings[0]))) take(t);
    while ((t = crt__inject_pop(&queue))) take(t);
}
static void start_at(crt__ring *r, uint32_t index)
{
    r->head = crt__pack(index, index);
    r->tail = index;
}
static void one_thief(void)
{
    setup();
    int a = ex_spawn(thief_of_0, (void *)1);
    crt__ring_push(&rings[0], &queue, make(0));
    crt__ring_push(&rings[0], &queue, make(1));
    crt_task *t = crt__ring_pop(&rings[0]);
    if (t) take(t);
    crt__ring_push(&rings[0], &queue, make(2));
    owner_pops_all();
    ex_join(a);
    all_taken(3);
}
static void two_thieves(void)
{
    setup();
    for (int i = 0; i < 3; i++) crt__ring_push(&rings[0], &queue, make(i));
    int a = ex_spawn(thief_of_0, (void *)1), b = ex_spawn(thief_of_0, (void *)2);
    crt__ring_push(&rings[0], &queue, make(3));
    owner_pops_all();
    ex_join(a), ex_join(b);
    all_taken(4);
}
// The ring (4 slots here) is full: half of it goes to the injection queue.
static void overflow_at(uint32_t index)
{
    setup();
    start_at(&rings[0], index);
    start_at(&rings[1], index + 1);
    for (int i = 0; i < CRT__RING; i++) EX_ASSERT(crt__ring_push(&rings[0], &queue, make(i)));
    int a = ex_spawn(thief_of_0, (void *)1);
    for (int i = 0; i < 2; i++) crt__ring_push(&rings[0], &queue, make(CRT__RING + i));
    EX_ASSERT(crt__ring_length(&rings[0]) <= CRT__RING);
    owner_pops_all();
    ex_join(a);
    all_taken(CRT__RING + 2);
}
static void overflow(void) { overflow_at(0); }
// 32-bit indices run over while all this happens.
static void overflow_at_wrap(void) { overflow_at(0xfffffffe); }
static void overflow_two_thieves(void)
{
    setup();
    start_at(&rings[0], 0xffffffff);
    for (int i = 0; i < CRT__RING; i++) crt__ring_push(&rings[0], &queue, make(i));
    int a = ex_spawn(thief_of_0, (void *)1), b = ex_spawn(thief_of_0, (void *)2);
    crt__ring_push(&rings[0], &queue, make(CRT__RING));
    owner_pops_all();
    ex_join(a), ex_join(b);
    all_taken(CRT__RING + 1);
}
// Without a thief the order is known: what is left is older than what went away.
static void overflow_keeps_the_oldest(void)
{
    setup();
    for (int i = 0; i < CRT__RING + 1; i++) crt__ring_push(&rings[0], &queue, make(i));
    for (int i = 0; i < CRT__RING / 2; i++) EX_ASSERT(crt__ring_pop(&rings[0]) == &tasks[i]);
    EX_ASSERT(crt__ring_pop(&rings[0]) == NULL);
    for (int i = CRT__RING / 2; i < CRT__RING + 1; i++) EX_ASSERT(crt__inject_pop(&queue) == &tasks[i]);
}
// Two owners steal from each other.
static void steal_from_1(void *arg)
{
    (void)arg;
    uint32_t n;
    crt_task *t = crt__ring_steal(&rings[0], &rings[1], &n);
    if (t) take(t);
    while ((t = crt__ring_pop(&rings[1]))) take(t);
}
static void steal_each_other(void)
{
    setup();
    uint32_t n;
    for (int i = 0; i < 2; i++) {
        crt__ring_push(&rings[0], &queue, make(i));
        crt__ring_push(&rings[1], &queue, make(2 + i));
    }
    int a = ex_spawn(steal_from_1, NULL);
    crt_task *t = crt__ring_pop(&rings[0]);
    if (t) take(t);
    if ((t = crt__ring_steal(&rings[1], &rings[0], &n))) take(t);
    owner_pops_all();
    ex_join(a);
    all_taken(4);
}

// --- the LIFO slot: its owner fills it, displaces what is there, takes it out; another takes it in passing

static void rescue_twice(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++) {
        crt_task *t = crt__rescue_lifo(&workers[1], 0, 0);   // nobody's tick has moved
        if (t) take(t);
    }
}
static void lifo_drain(void)
{
    crt_task *t;
    while ((t = crt__take_lifo(&workers[0])) || (t = crt__ring_pop(workers[0].ring))) take(t);
}
static void lifo_against_rescue(int displaced)
{
    crt_cx cx;
    setup();
    model_enter(&workers[0], &cx);
    crt__tls.in_task = 1;
    int a = ex_spawn(rescue_twice, NULL);
    for (int i = 0; i <= displaced; i++) crt__submit_to_ring(&rt, &workers[0], make(i));
    lifo_drain();
    crt__submit_to_ring(&rt, &workers[0], make(displaced + 1));
    ex_join(a);
    lifo_drain();
    all_taken(displaced + 2);
}
static void lifo_takes(void) { lifo_against_rescue(0); }
static void lifo_displaces(void) { lifo_against_rescue(1); }

static const model models[] = {
    {.name = "inject: two producers, one consumer", .run = two_producers, .spurious_cas = 1},
    {.name = "inject: a producer relinks behind the dummy", .run = through_the_dummy},
    {.name = "inject: two producers, two consumers", .run = two_consumers},
    {.name = "inject: the length never misses a finished push", .run = length_covers},
    {.name = "inject: a share goes into the ring under a thief", .run = take_share, .spurious_cas = 1},
    {.name = "ring: push, pop, one thief", .run = one_thief, .spurious_cas = 1},
    {.name = "ring: two thieves", .run = two_thieves},
    {.name = "ring: overflow under a thief", .run = overflow, .spurious_cas = 1},
    {.name = "ring: overflow while the indices wrap", .run = overflow_at_wrap},
    {.name = "ring: overflow under two thieves", .run = overflow_two_thieves},
    {.name = "ring: overflow keeps the oldest", .run = overflow_keeps_the_oldest},
    {.name = "ring: two owners steal from each other", .run = steal_each_other},
    {.name = "lifo: taken by its owner and in passing", .run = lifo_takes},
    {.name = "lifo: displaced while it is taken in passing", .run = lifo_displaces},

    {.name = "seed: tail is not exchanged but loaded and stored", .run = two_producers,
     .seed = {"crt__inject_link", "tail", MODEL_SPLIT, 0, NULL}},
    {.name = "seed: relaxed link of a pushed task", .run = two_producers,
     .seed = {"crt__inject_link", "next", MODEL_RELAX, 0, NULL}},
    {.name = "seed: the consumers' lock is not taken", .run = two_consumers,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, NULL}},
    {.name = "seed: relaxed tail of the ring", .run = one_thief,
     .seed = {"crt__ring_push", "tail", MODEL_RELAX, 0, NULL}},
    {.name = "seed: pop takes without a cas", .run = two_thieves,
     .seed = {"crt__ring_pop", "head", MODEL_SPLIT, 0, NULL}},
    {.name = "seed: a thief claims without a cas", .run = two_thieves,
     .seed = {"crt__ring_steal", "from->head", MODEL_SPLIT, 0, NULL}},
    {.name = "seed: overflow does not claim the ring", .run = overflow,
     .seed = {"crt__ring_overflow", "head", MODEL_SPLIT, 0, NULL}},
    {.name = "seed: the LIFO slot is emptied in two steps", .run = lifo_takes,
     .seed = {"crt__rescue_lifo", "xchg &victim->lifo", MODEL_SPLIT, 0, NULL}},
    {.name = "seed: what is displaced is taken in two steps", .run = lifo_displaces,
     .seed = {"crt__submit_to_ring", "xchg &w->lifo", MODEL_SPLIT, 0, NULL}},
    {.name = "seed: the LIFO slot is filled without an order", .run = lifo_takes,
     .seed = {"crt__submit_to_ring", "store &w->lifo", MODEL_RELAX, 0, NULL}},
};
MODEL_MAIN(models)
