// model_permits.c - semaphore and rwlock: one word of free permits and a queue.
//
// Promise: no permit is lost or made; first come, first served, also for those who collect
// permits one by one; a wait that is given up passes on what it had; what was written
// before a release is seen by whoever acquires it, over any number of hands.
#include "model_platform.h"

static int data[3];          // plain: of T0, T1, T2
static crt_semaphore sem;
static crt_rwlock lock;
static model_hand *hand[3];
static crt_join_handle *first, *second;

static void setup(size_t permits)
{
    model_runtime(1);
    model_watch(&sem, sizeof sem);
    model_watch(&lock, sizeof lock);
    for (int i = 0; i < 3; i++) {
        EX_WRITE(data[i]) = 0;
        hand[i] = model_hand_new();
    }
    crt_semaphore_init(&sem, permits);
    memset(&lock, 0, sizeof lock);
    first = second = NULL;
}
static void hands_free(void)
{
    for (int i = 0; i < 3; i++)
        if (hand[i]) model_hand_free(hand[i]);
}
static void hand_done(int i)
{
    model_hand_free(hand[i]);
    hand[i] = NULL;
}
// Nobody waits, and the word says so.
static void quiet(size_t available)
{
    EX_ASSERT(!sem.p.q.head && !(sem.p.word & CRT__PERMITS_WAITING));
    EX_ASSERT(crt_semaphore_available(&sem) == available);
    hands_free();
}
static crt_poll acquire(int i, size_t n) { return crt_semaphore_acquire(&hand[i]->cx, &sem, n); }
// It waits before the others begin.
static void acquire_queued(int i, size_t n) { EX_ASSERT(acquire(i, n) == CRT_PENDING); }
static void acquire_all(int i, size_t n)
{
    crt_poll r;
    MODEL_AWAIT(hand[i], r, acquire(i, n));
    EX_ASSERT(r == 0);
}

// --- semaphore

static void release_one(void *arg)
{
    EX_WRITE(data[(intptr_t)arg]) = 1;
    crt_semaphore_release(&sem, 1);
}
static void release_two(void *arg)
{
    (void)arg;
    crt_semaphore_release(&sem, 1);
    crt_semaphore_release(&sem, 1);
}
static void give_up(void *arg)
{
    crt_poll r;
    intptr_t i = (intptr_t)arg;
    MODEL_GIVE_UP(hand[i], r, acquire((int)i, 2));
    EX_ASSERT(r == CRT_UNWIND);
    hand_done((int)i);
}
static void fast_paths(void)
{
    setup(0);
    int a = ex_spawn(release_one, (void *)1);
    acquire_all(0, 1);
    EX_ASSERT(EX_READ(data[1]) == 1);
    hand_done(0);
    ex_join(a);
    quiet(0);
}
// Woken by something else, it looks while it is being granted.
static void looks_too_early(void)
{
    setup(0);
    acquire_queued(0, 1);
    int a = ex_spawn(release_one, (void *)1);
    if (acquire(0, 1) == CRT_PENDING) acquire_all(0, 1);
    EX_ASSERT(EX_READ(data[1]) == 1);
    hand_done(0);
    ex_join(a);
    quiet(0);
}
// Two permits of two hands make one request; both have published what they wrote.
static void two_releases(void)
{
    setup(0);
    int a = ex_spawn(release_one, (void *)1), b = ex_spawn(release_one, (void *)2);
    acquire_all(0, 2);
    EX_ASSERT(EX_READ(data[1]) == 1 && EX_READ(data[2]) == 1);
    hand_done(0);
    ex_join(a), ex_join(b);
    quiet(0);
}
// Three waits for three of which two come, and gives up: one goes to the next, one stays.
static void give_up_three(void *arg)
{
    crt_poll r;
    (void)arg;
    MODEL_GIVE_UP(hand[1], r, acquire(1, 3));
    EX_ASSERT(r == CRT_UNWIND);
    hand_done(1);
}
static void collected_go_on(void)
{
    setup(0);
    acquire_queued(1, 3);
    acquire_queued(0, 1);
    int a = ex_spawn(release_two, NULL), b = ex_spawn(give_up_three, NULL);
    acquire_all(0, 1);
    hand_done(0);
    ex_join(a), ex_join(b);
    quiet(1);
}
// What is given back by a wait that is given up was written by those who released it.
static void given_back_publishes(void)
{
    setup(0);
    acquire_queued(1, 2);
    int a = ex_spawn(release_one, (void *)2), b = ex_spawn(give_up, (void *)1);
    acquire_all(0, 1);
    EX_ASSERT(EX_READ(data[2]) == 1);
    hand_done(0);
    ex_join(a), ex_join(b);
    quiet(0);
}
// Granted or not: who gives up leaves both permits.
static void grant_against_give_up(void)
{
    setup(0);
    acquire_queued(1, 2);
    int a = ex_spawn(release_two, NULL), b = ex_spawn(give_up, (void *)1);
    ex_join(a), ex_join(b);
    quiet(2);
}
static void close_it(void *arg)
{
    (void)arg;
    crt_semaphore_close(&sem);
}
static void close_against_both(void)
{
    crt_poll r;
    setup(0);
    int a = ex_spawn(release_one, (void *)1), b = ex_spawn(close_it, NULL);
    MODEL_AWAIT(hand[0], r, acquire(0, 1));
    EX_ASSERT(r == 0 || r == CRT_ECLOSED);
    hand_done(0);
    ex_join(a), ex_join(b);
    EX_ASSERT(crt_semaphore_is_closed(&sem));
    quiet(r == 0 ? 0 : 1);
}
// Closed while it collects: what it had is in the word.
static void close_collecting(void)
{
    crt_poll r;
    setup(0);
    acquire_queued(0, 2);
    int a = ex_spawn(release_one, (void *)1), b = ex_spawn(close_it, NULL);
    MODEL_AWAIT(hand[0], r, acquire(0, 2));
    EX_ASSERT(r == CRT_ECLOSED);
    hand_done(0);
    ex_join(a), ex_join(b);
    quiet(1);
}
static void forget_and_give_back(void *arg)
{
    (void)arg;
    size_t n = crt_semaphore_forget(&sem, 1);
    if (n) crt_semaphore_release(&sem, n);
}
static void forget_against_both(void)
{
    setup(0);
    int a = ex_spawn(release_one, (void *)1), b = ex_spawn(forget_and_give_back, NULL);
    acquire_all(0, 1);
    hand_done(0);
    ex_join(a), ex_join(b);
    quiet(0);
}
static void try_to_overtake(void *arg)
{
    (void)arg;
    EX_ASSERT(crt_semaphore_try_acquire(&sem, 1) == CRT_EAGAIN);
    EX_ASSERT(crt_semaphore_forget(&sem, 1) == 0);
}
static void no_overtaking(void)
{
    setup(0);
    acquire_queued(0, 2);
    int a = ex_spawn(release_two, NULL), b = ex_spawn(try_to_overtake, NULL);
    acquire_all(0, 2);
    hand_done(0);
    ex_join(a), ex_join(b);
    quiet(0);
}
// Three who share one permit.
static void share(void *arg)
{
    int i = (int)(intptr_t)arg;
    acquire_all(i, 1);
    EX_WRITE(data[0]) = EX_READ(data[0]) + 1;
    hand_done(i);
    crt_semaphore_release(&sem, 1);
}
static void three_share(void)
{
    setup(1);
    int a = ex_spawn(share, (void *)1), b = ex_spawn(share, (void *)2);
    share((void *)0);
    ex_join(a), ex_join(b);
    EX_ASSERT(EX_READ(data[0]) == 3);
    quiet(1);
}

// The same with tasks, aborts and a worker.
typedef struct want {
    size_t n;
} want;
static crt_poll acquire_run(void *frame, crt_cx *cx)
{
    return crt_semaphore_acquire(cx, &sem, ((want *)frame)->n);
}
static void abort_first(void *arg)
{
    (void)arg;
    crt_abort(first);
}
static void release_against_abort(void)
{
    setup(0);
    model_start(acquire_run, &(want){2}, sizeof(want), &first);
    model_start(acquire_run, &(want){1}, sizeof(want), &second);
    int a = ex_spawn(release_two, NULL), b = ex_spawn(abort_first, NULL);
    // Two permits make the first end; then one more is needed for the second.
    while (!crt_is_finished(first)) model_run_until(&workers[0], workers[0].completed + 1);
    ex_join(b);
    size_t left = 1;
    if (crt_join_blocking(&first, NULL) == 0) {
        left = 0;
        crt_semaphore_release(&sem, 1);
    }
    model_run_until(&workers[0], 2);
    EX_ASSERT(crt_join_blocking(&second, NULL) == 0);
    ex_join(a);
    quiet(left);
}
static void close_against_abort(void)
{
    setup(0);
    model_start(acquire_run, &(want){2}, sizeof(want), &first);
    int a = ex_spawn(close_it, NULL), b = ex_spawn(abort_first, NULL);
    crt_semaphore_release(&sem, 1);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    crt_detach(&first);
    quiet(1);
}

// --- rwlock

static void unlocked(void)
{
    EX_ASSERT(!lock.p.q.head && !lock.p.word);
    hands_free();
}
static crt_poll read_lock(int i) { return crt_rwlock_read(&hand[i]->cx, &lock); }
static crt_poll write_lock(int i) { return crt_rwlock_write(&hand[i]->cx, &lock); }
static int read_it(int i)
{
    crt_poll r;
    MODEL_AWAIT(hand[i], r, read_lock(i));
    EX_ASSERT(r == 0);
    hand_done(i);
    int seen = EX_READ(data[0]);
    crt_rwlock_unlock_read(&lock);
    return seen;
}
static void write_it(int i)
{
    crt_poll r;
    MODEL_AWAIT(hand[i], r, write_lock(i));
    EX_ASSERT(r == 0);
    hand_done(i);
    EX_WRITE(data[0]) = EX_READ(data[0]) + 1;
    crt_rwlock_unlock_write(&lock);
}
static void reader(void *arg) { read_it((int)(intptr_t)arg); }
static void writer(void *arg) { write_it((int)(intptr_t)arg); }
static void try_reader(void *arg)
{
    (void)arg;
    if (crt_rwlock_try_read(&lock)) return;
    EX_ASSERT(EX_READ(data[0]) == 1);   // not while the writer waits
    crt_rwlock_unlock_read(&lock);
}
static void unlock_read(void *arg)
{
    (void)arg;
    EX_ASSERT(EX_READ(data[0]) == 0);   // no writer while we are in
    crt_rwlock_unlock_read(&lock);
}
static void readers_and_writer(void)
{
    setup(0);
    int a = ex_spawn(reader, (void *)1), b = ex_spawn(reader, (void *)2);
    write_it(0);
    ex_join(a), ex_join(b);
    unlocked();
}
static void two_writers(void)
{
    setup(0);
    int a = ex_spawn(writer, (void *)1);
    write_it(0);
    EX_ASSERT(read_it(2) >= 1);
    ex_join(a);
    unlocked();
}
static void late_reader(void *arg) { EX_ASSERT(read_it((int)(intptr_t)arg) == 1); }
// A reader is in and a writer waits: who comes now sees what the writer wrote.
static void writer_not_starved(void)
{
    setup(0);
    EX_ASSERT(crt_rwlock_try_read(&lock) == 0);
    EX_ASSERT(write_lock(0) == CRT_PENDING);
    int a = ex_spawn(late_reader, (void *)1), b = ex_spawn(try_reader, NULL);
    unlock_read(NULL);
    write_it(0);
    ex_join(a), ex_join(b);
    unlocked();
}
// The writer reads on: readers may join it, the other writer comes after it.
static void downgrade(void)
{
    setup(0);
    EX_ASSERT(crt_rwlock_try_write(&lock) == 0);
    int a = ex_spawn(reader, (void *)1), b = ex_spawn(writer, (void *)2);
    EX_WRITE(data[0]) = 1;
    crt_rwlock_downgrade(&lock);
    EX_ASSERT(EX_READ(data[0]) == 1);
    crt_rwlock_unlock_read(&lock);
    ex_join(a), ex_join(b);
    EX_ASSERT(EX_READ(data[0]) == 2);
    unlocked();
}
// A reader is in and stays. A writer waits, a reader behind it: the writer gives up.
static void give_up_writing(void *arg)
{
    crt_poll r;
    (void)arg;
    MODEL_GIVE_UP(hand[1], r, write_lock(1));
    EX_ASSERT(r == CRT_UNWIND);
    hand_done(1);
}
static void early_reader(void *arg) { EX_ASSERT(read_it((int)(intptr_t)arg) == 0); }
static void writer_gives_up(void)
{
    setup(0);
    EX_ASSERT(crt_rwlock_try_read(&lock) == 0);
    EX_ASSERT(write_lock(1) == CRT_PENDING);
    int a = ex_spawn(give_up_writing, NULL), b = ex_spawn(early_reader, (void *)2);
    EX_ASSERT(read_it(0) == 0);
    ex_join(a), ex_join(b);
    crt_rwlock_unlock_read(&lock);
    unlocked();
}
// As above, but it may have the lock by the time it gives up.
static void granted_writer_gives_up(void)
{
    setup(0);
    EX_ASSERT(crt_rwlock_try_read(&lock) == 0);
    EX_ASSERT(write_lock(1) == CRT_PENDING && read_lock(0) == CRT_PENDING);
    int a = ex_spawn(give_up_writing, NULL), b = ex_spawn(unlock_read, NULL);
    EX_ASSERT(read_it(0) == 0);
    ex_join(a), ex_join(b);
    unlocked();
}
// A task's lock and a plain thread's, one after the other.
static crt_poll write_run(void *frame, crt_cx *cx)
{
    (void)frame;
    crt_poll r = crt_rwlock_write(cx, &lock);
    if (r != 0) return r;
    EX_WRITE(data[0]) = EX_READ(data[0]) + 1;
    crt_rwlock_unlock_write(&lock);
    return 0;
}
static void blocking_reader(void *arg)
{
    (void)arg;
    EX_ASSERT(crt_rwlock_blocking_read(&lock) == 0);
    (void)EX_READ(data[0]);
    crt_rwlock_unlock_read(&lock);
}
static void task_and_thread(void)
{
    setup(0);
    model_start(write_run, NULL, 0, NULL);
    int a = ex_spawn(blocking_reader, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a);
    unlocked();
}

static const model models[] = {
    {.name = "semaphore: acquire against release", .run = fast_paths, .spurious_wakes = 1, .spurious_cas = 1},
    {.name = "semaphore: a look while it is granted", .run = looks_too_early},
    {.name = "semaphore: two releases make two permits", .run = two_releases},
    {.name = "semaphore: given up while it collects: they go on", .run = collected_go_on},
    {.name = "semaphore: what is given back publishes", .run = given_back_publishes},
    {.name = "semaphore: granted against given up", .run = grant_against_give_up},
    {.name = "semaphore: close, release and acquire", .run = close_against_both},
    {.name = "semaphore: closed while it collects", .run = close_collecting},
    {.name = "semaphore: forget, release and acquire", .run = forget_against_both},
    {.name = "semaphore: nobody overtakes", .run = no_overtaking},
    {.name = "semaphore: three share one permit", .run = three_share},
    {.name = "semaphore: permits of an aborted task go on", .run = release_against_abort},
    {.name = "semaphore: close, release and abort of a task", .run = close_against_abort},
    {.name = "rwlock: two readers and a writer", .run = readers_and_writer},
    {.name = "rwlock: two writers and a reader", .run = two_writers},
    {.name = "rwlock: a writer is not starved", .run = writer_not_starved},
    {.name = "rwlock: downgrade before a writer, with a reader", .run = downgrade},
    {.name = "rwlock: a waiting writer gives up", .run = writer_gives_up},
    {.name = "rwlock: a writer gives up when it has the lock", .run = granted_writer_gives_up},
    {.name = "rwlock: a task's lock and a plain thread's", .run = task_and_thread},

    {.name = "seed: semaphore: released without an order", .run = fast_paths,
     .seed = {"crt__permits_release", "cas &p->word", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: semaphore: taken without an order", .run = three_share,
     .seed = {"crt__permits_try", "cas &p->word", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: semaphore: released in two steps", .run = fast_paths,
     .seed = {"crt__permits_release", "cas &p->word", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: semaphore: waits without saying so", .run = fast_paths,
     .seed = {"crt__permits_acquire", "cas &p->word", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: semaphore: given back without an order", .run = given_back_publishes,
     .seed = {"crt__permits_give", "add &p->word", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: semaphore: the rest is not given back", .run = collected_go_on,
     .seed = {"crt__permits_give", "add &p->word", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: semaphore: does not wait for the releaser", .run = looks_too_early,
     .seed = {"crt__lock_pass", "load lock", MODEL_VALUE, 0, NULL, 0}},
    {.name = "seed: semaphore: gives up without the lock", .run = collected_go_on,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, &sem.p.q.lock, 3}},
    {.name = "seed: semaphore: closed without clearing the bit", .run = close_collecting,
     .seed = {"crt_semaphore_close", "add &s->p.word", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: semaphore: forgotten in two steps", .run = forget_against_both,
     .seed = {"crt_semaphore_forget", "cas &s->p.word", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: grant: told without an order", .run = looks_too_early,
     .seed = {"crt__waitq_grant", "store &s->state", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: rwlock: unlocked without an order", .run = readers_and_writer,
     .seed = {"crt__permits_release", "cas &p->word", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: rwlock: a writer waits without saying so", .run = writer_not_starved,
     .seed = {"crt__permits_acquire", "cas &p->word", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: rwlock: gives up without the lock", .run = granted_writer_gives_up,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, &lock.p.q.lock, 2}},
};
MODEL_MAIN(models)
