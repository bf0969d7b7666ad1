// model_sync.c - the small lock, notify, mutex, barrier, once cell, cancel token.
//
// Promise: one holder at a time, who sees what the one before wrote; what is handed to a
// task that is being cancelled goes to the next one; nothing is handed out twice or lost.
// Worker 0 (current thread) runs the waiting tasks; other threads give, take and abort.
#include "model_platform.h"

static int counter;        // plain: the lock's or the permit's holder may touch it
static uint32_t lock;
static crt_notify notify;
static crt_mutex mutex;
static crt_cancel_token *token;
static crt_once_cell cell;
static model_hand *hand[3];
static crt_join_handle *first, *second;
static int unwinds, holders;

static void setup(void)
{
    model_runtime(1);
    model_watch(&notify, sizeof notify);
    model_watch(&cell, sizeof cell);
    model_watch(&mutex, sizeof mutex);
    EX_WRITE(counter) = 0;
    lock = 0;
    memset(&notify, 0, sizeof notify);
    memset(&mutex, 0, sizeof mutex);
    memset(&cell, 0, sizeof cell);
    for (int i = 0; i < 3; i++) hand[i] = model_hand_new();
    first = second = NULL;
    unwinds = holders = 0;
}
static void hand_done(int i)
{
    model_hand_free(hand[i]);
    hand[i] = NULL;
}
static void hands_free(void)
{
    for (int i = 0; i < 3; i++)
        if (hand[i]) hand_done(i);
}
static void worker(void *arg) { model_run_until(&workers[0], (uint64_t)(uintptr_t)arg); }
static void abort_first(void *arg)
{
    (void)arg;
    crt_abort(first);
}
// Only the holder is here.
static void critical(void)
{
    EX_ASSERT(holders++ == 0);
    EX_WRITE(counter) = EX_READ(counter) + 1;
    holders--;
}

// --- the lock of four bytes

static void lock_twice(void *arg)
{
    for (intptr_t i = 0; i < (intptr_t)arg; i++) {
        crt__lock(&lock);
        EX_WRITE(counter) = EX_READ(counter) + 1;
        crt__unlock(&lock);
    }
}
static void try_once(void *arg)
{
    (void)arg;
    if (!crt__try_lock(&lock)) return;
    EX_WRITE(counter) = EX_READ(counter) + 1;
    crt__unlock(&lock);
}
static void three_lockers(void)
{
    setup();
    int a = ex_spawn(lock_twice, (void *)1), b = ex_spawn(lock_twice, (void *)1);
    lock_twice((void *)2);
    ex_join(a), ex_join(b);
    EX_ASSERT(EX_READ(counter) == 4 && lock == 0);
    hands_free();
}
static void lock_against_try(void)
{
    setup();
    int a = ex_spawn(lock_twice, (void *)2), b = ex_spawn(try_once, NULL);
    lock_twice((void *)1);
    ex_join(a), ex_join(b);
    EX_ASSERT(EX_READ(counter) >= 3 && lock == 0);
    hands_free();
}

// --- notify

static crt_poll notified_run(void *frame, crt_cx *cx)
{
    (void)frame;
    crt_poll r = crt_notified(cx, &notify);
    unwinds += r == CRT_UNWIND;
    return r;
}
// Nobody waits, the word says so; is there a permit?
static void notify_quiet(bool permit)
{
    // WAITING stays set until a notifier finds the queue empty.
    EX_ASSERT(!notify.q.head && (notify.q.extra & CRT__NOTIFY_PERMIT) == (permit ? CRT__NOTIFY_PERMIT : 0u));
    hands_free();
}
static crt_poll notified(int i) { return crt_notified(&hand[i]->cx, &notify); }
static void notified_all(int i)
{
    crt_poll r;
    MODEL_AWAIT(hand[i], r, notified(i));
    EX_ASSERT(r == 0);
    hand_done(i);
}
static void notify_one(void *arg)
{
    (void)arg;
    EX_WRITE(counter) = 1;
    crt_notify_one(&notify);
}
static void notify_again(void *arg)
{
    (void)arg;
    crt_notify_one(&notify);
}
static void notify_last(void *arg)
{
    (void)arg;
    crt_notify_last(&notify);
}
static void notify_all(void *arg)
{
    (void)arg;
    crt_notify_waiters(&notify);
}
static void notify_against_wait(void)
{
    setup();
    int a = ex_spawn(notify_one, NULL);
    notified_all(0);
    EX_ASSERT(EX_READ(counter) == 1);
    ex_join(a);
    notify_quiet(false);
}
// Woken by something else, it looks while it is being notified.
static void notify_against_look(void)
{
    crt_poll r;
    setup();
    EX_ASSERT(notified(0) == CRT_PENDING);
    int a = ex_spawn(notify_one, NULL);
    if ((r = notified(0)) == CRT_PENDING) MODEL_AWAIT(hand[0], r, notified(0));
    EX_ASSERT(r == 0 && EX_READ(counter) == 1);
    hand_done(0);
    ex_join(a);
    notify_quiet(false);
}
// A permit that is there is stored once more: what was written before that counts too.
static uint32_t raised;
static void notify_and_say(void *arg)
{
    notify_one(arg);
    crt__atomic_store(&raised, 1, RELAXED);
}
static void notify_twice(void)
{
    setup();
    raised = 0;
    crt_notify_one(&notify);
    int a = ex_spawn(notify_and_say, NULL);
    bool said = crt__atomic_load(&raised, RELAXED) != 0;
    notified_all(0);
    if (said) EX_ASSERT(EX_READ(counter) == 1);
    ex_join(a);
    hands_free();
}
static void take_or_give_up(void *arg)
{
    int i = (int)(intptr_t)arg;
    crt_poll r;
    MODEL_TRY(hand[i], r, notified(i));
    EX_ASSERT(r == 0 || r == CRT_UNWIND);
    unwinds += r == CRT_UNWIND;
    hand_done(i);
}
// Two notifications and one who may give up: then one of them is still there.
static void two_against_give_up(void)
{
    setup();
    int a = ex_spawn(notify_again, NULL), b = ex_spawn(notify_again, NULL);
    take_or_give_up((void *)0);
    ex_join(a), ex_join(b);
    if (unwinds) notify_quiet(true);
    hands_free();
}
// One notification: the second waiter gets it if the first gives up.
static void give_up_notified(void *arg)
{
    crt_poll r;
    int i = (int)(intptr_t)arg;
    MODEL_GIVE_UP(hand[i], r, notified(i));
    EX_ASSERT(r == CRT_UNWIND);
    hand_done(i);
}
static void notified_goes_on(void)
{
    setup();
    EX_ASSERT(notified(1) == CRT_PENDING && notified(0) == CRT_PENDING);
    int a = ex_spawn(notify_again, NULL), b = ex_spawn(give_up_notified, (void *)1);
    notified_all(0);
    ex_join(a), ex_join(b);
    notify_quiet(false);
}
// The same, but the other comes late: it finds a permit, and sees what the notifier wrote.
static void notified_becomes_permit(void)
{
    setup();
    EX_ASSERT(notified(1) == CRT_PENDING);
    int a = ex_spawn(notify_one, NULL), b = ex_spawn(give_up_notified, (void *)1);
    notified_all(0);
    EX_ASSERT(EX_READ(counter) == 1);
    ex_join(a), ex_join(b);
    notify_quiet(false);
}
// The newest of three gives up: the second newest has it, not the oldest.
static void notify_last_goes_on(void)
{
    crt_poll r;
    setup();
    for (int i = 2; i >= 0; i--) EX_ASSERT(notified(i) == CRT_PENDING);
    int a = ex_spawn(notify_last, NULL), b = ex_spawn(give_up_notified, (void *)0);
    notified_all(1);
    ex_join(a), ex_join(b);
    EX_ASSERT(hand[2]->cx.slot->state == CRT__SLOT_QUEUED);
    MODEL_GIVE_UP(hand[2], r, notified(2));
    EX_ASSERT(r == CRT_UNWIND);
    notify_quiet(false);
}
// A round between the snapshot and the wait ends the wait.
static void raise_flag(void *arg)
{
    (void)arg;
    EX_WRITE(counter) = 1;
    crt__atomic_store(&raised, 1, RELAXED);
    crt_notify_waiters(&notify);
}
static void snapshot_then_wait(void)
{
    crt_poll r;
    setup();
    raised = 0;
    int a = ex_spawn(raise_flag, NULL);
    uint32_t since = crt_notify_snapshot(&notify);
    if (!crt__atomic_load(&raised, RELAXED)) {
        MODEL_AWAIT(hand[0], r, crt_notified_since(&hand[0]->cx, &notify, since));
        EX_ASSERT(r == 0 && EX_READ(counter) == 1);
    }
    ex_join(a);
    notify_quiet(false);
}
// Who was notified alone leaves nothing behind, who was told with all others a permit.
static void waiters_against_one(void)
{
    setup();
    EX_ASSERT(notified(0) == CRT_PENDING && notified(1) == CRT_PENDING);
    int a = ex_spawn(notify_all, NULL), b = ex_spawn(notify_again, NULL);
    ex_join(a), ex_join(b);
    bool alone = hand[0]->cx.slot->state == CRT__SLOT_GRANTED;
    EX_ASSERT(hand[1]->cx.slot->state == CRT__SLOT_GRANTED_ALL);
    notified_all(0);
    notified_all(1);
    notify_quiet(!alone);
}
// Nobody waits: the permit stays, the round counts.
static void round_against_permit(void)
{
    setup();
    int a = ex_spawn(notify_all, NULL);
    notify_again(NULL);
    ex_join(a);
    EX_ASSERT(crt_notify_snapshot(&notify) == 1);
    notify_quiet(true);
}
// Two tasks wait, the one who is notified is aborted: the other must get it.
static void notify_against_abort(void)
{
    setup();
    model_start(notified_run, NULL, 0, &first);
    model_start(notified_run, NULL, 0, &second);
    int a = ex_spawn(notify_again, NULL), b = ex_spawn(abort_first, NULL);
    while (!crt_is_finished(first)) model_run_until(&workers[0], workers[0].completed + 1);
    ex_join(b);
    if (crt_join_blocking(&first, NULL) == 0) crt_notify_one(&notify);   // used up: one for the second
    model_run_until(&workers[0], 2);
    EX_ASSERT(crt_join_blocking(&second, NULL) == 0);
    ex_join(a);
    notify_quiet(false);
}
static void notify_waiters_against_abort(void)
{
    setup();
    model_start(notified_run, NULL, 0, &first);
    model_start(notified_run, NULL, 0, &second);
    int a = ex_spawn(notify_all, NULL), b = ex_spawn(abort_first, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    crt_abort(second);   // in case it came too late for notify_waiters
    model_run_until(&workers[0], 2);
    crt_detach(&first);
    crt_detach(&second);
    notify_quiet(false);   // never stored, never passed on
}

// --- mutex

static crt_poll lock_run(void *frame, crt_cx *cx)
{
    (void)frame;
    crt_poll r = crt_mutex_lock(cx, &mutex);
    if (r == CRT_PENDING) return r;
    unwinds += r == CRT_UNWIND;
    if (r == 0) {
        critical();
        crt_mutex_unlock(&mutex);
    }
    return r;
}
static void unlock_it(void *arg)
{
    (void)arg;
    critical();
    crt_mutex_unlock(&mutex);
}
static void try_mutex(void *arg)
{
    (void)arg;
    if (crt_mutex_try_lock(&mutex) == 0) unlock_it(NULL);
}
static void mutex_quiet(int count)
{
    EX_ASSERT(!mutex.q.head && mutex.q.extra == 0 && (!count || EX_READ(counter) == count));
    hands_free();
}
static void lock_all(void *arg)
{
    int i = (int)(intptr_t)arg;
    crt_poll r;
    MODEL_AWAIT(hand[i], r, crt_mutex_lock(&hand[i]->cx, &mutex));
    EX_ASSERT(r == 0);
    hand_done(i);
    unlock_it(NULL);
}
static void three_hands(void)
{
    setup();
    int a = ex_spawn(lock_all, (void *)1), b = ex_spawn(lock_all, (void *)2);
    lock_all((void *)0);
    ex_join(a), ex_join(b);
    mutex_quiet(3);
}
static void mutex_hand_over(void)
{
    setup();
    crt_mutex_try_lock(&mutex);
    int a = ex_spawn(unlock_it, NULL), b = ex_spawn(try_mutex, NULL);
    lock_all((void *)0);
    ex_join(a), ex_join(b);
    mutex_quiet(0);
}
// Woken by something else, it looks while it is being handed the lock.
static void hand_over_against_look(void)
{
    setup();
    crt_mutex_try_lock(&mutex);
    EX_ASSERT(crt_mutex_lock(&hand[0]->cx, &mutex) == CRT_PENDING);
    int a = ex_spawn(unlock_it, NULL);
    if (crt_mutex_lock(&hand[0]->cx, &mutex) == CRT_PENDING) lock_all((void *)0);
    else hand_done(0), unlock_it(NULL);
    ex_join(a);
    mutex_quiet(2);
}
static void give_up_locking(void *arg)
{
    crt_poll r;
    (void)arg;
    MODEL_GIVE_UP(hand[1], r, crt_mutex_lock(&hand[1]->cx, &mutex));
    EX_ASSERT(r == CRT_UNWIND);
    hand_done(1);
}
// The first in the queue gives up, with the lock or without: the second gets it.
static void granted_gives_up(void)
{
    setup();
    crt_mutex_try_lock(&mutex);
    EX_ASSERT(crt_mutex_lock(&hand[1]->cx, &mutex) == CRT_PENDING);
    int a = ex_spawn(unlock_it, NULL), b = ex_spawn(give_up_locking, NULL);
    lock_all((void *)0);
    ex_join(a), ex_join(b);
    mutex_quiet(2);
}
static void blocking_lock(void *arg)
{
    (void)arg;
    EX_ASSERT(crt_mutex_blocking_lock(&mutex) == 0);
    unlock_it(NULL);
}
static void task_and_thread(void)
{
    setup();
    model_start(lock_run, NULL, 0, NULL);
    int a = ex_spawn(blocking_lock, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a);
    mutex_quiet(2);
}
static void unlock_against_abort(void)
{
    setup();
    crt_mutex_try_lock(&mutex);
    model_start(lock_run, NULL, 0, &first);
    model_start(lock_run, NULL, 0, NULL);
    int a = ex_spawn(unlock_it, NULL), b = ex_spawn(abort_first, NULL);
    model_run_until(&workers[0], 2);
    ex_join(a), ex_join(b);
    crt_detach(&first);
    mutex_quiet(0);
}

// --- barrier

static crt_barrier barrier;
static crt_poll barrier_run(void *frame, crt_cx *cx)
{
    (void)frame;
    crt_poll r = crt_barrier_wait(cx, &barrier);
    if (r == 1) holders++;
    return r;
}
// Two are needed, three come, one of them is aborted: two meet, one of them leads.
static void barrier_against_abort(void)
{
    setup();
    crt_barrier_init(&barrier, 2);
    model_start(barrier_run, NULL, 0, &first);
    model_start(barrier_run, NULL, 0, NULL);
    model_start(barrier_run, NULL, 0, &second);
    int b = ex_spawn(abort_first, NULL), c = ex_spawn(worker, (void *)2);
    ex_join(b), ex_join(c);
    // If the abort came too late, the last one has nobody to meet.
    crt__tls.worker = &workers[0];
    crt_abort(second);
    worker((void *)3);
    EX_ASSERT(holders == 1);
    EX_ASSERT(barrier.arrived == 0 && !barrier.q.head);
    crt_detach(&first);
    crt_detach(&second);
    hands_free();
}

static int met[3];   // plain: what each has written before it came
static crt_poll meet(int i)
{
    crt_poll r;
    MODEL_AWAIT(hand[i], r, crt_barrier_wait(&hand[i]->cx, &barrier));
    EX_ASSERT(r == 0 || r == 1);
    hand_done(i);
    holders += r == 1;
    return r;
}
static void meet_all(void *arg)
{
    int i = (int)(intptr_t)arg;
    EX_WRITE(met[i]) = 1;
    meet(i);
    EX_ASSERT(EX_READ(met[0]) + EX_READ(met[1]) + EX_READ(met[2]) == 3);
}
static void three_meet(void)
{
    setup();
    crt_barrier_init(&barrier, 3);
    for (int i = 0; i < 3; i++) EX_WRITE(met[i]) = 0;
    int a = ex_spawn(meet_all, (void *)1), b = ex_spawn(meet_all, (void *)2);
    meet_all((void *)0);
    ex_join(a), ex_join(b);
    EX_ASSERT(holders == 1 && !barrier.arrived && !barrier.q.head);
}
static void meet_one(void *arg) { meet((int)(intptr_t)arg); }
// Gives up, unless it was counted: then somebody lacks a partner, so it comes again.
static void meet_or_give_up(void *arg)
{
    crt_poll r;
    (void)arg;
    MODEL_TRY(hand[1], r, crt_barrier_wait(&hand[1]->cx, &barrier));
    bool counted = r >= 0 || hand[1]->cx.slot->state != CRT__SLOT_QUEUED;
    hand_done(1);
    if (!counted) return;
    holders += r == 1;
    unwinds = 1;
    hand[1] = model_hand_new();
    meet(1);
}
// Two are needed: the last to come against one who gives up.
static void arrival_against_give_up(void)
{
    setup();
    crt_barrier_init(&barrier, 2);
    int a = ex_spawn(meet_or_give_up, NULL), b = ex_spawn(meet_one, (void *)2);
    meet(0);
    ex_join(a), ex_join(b);
    EX_ASSERT(holders == 1 + unwinds && !barrier.arrived && !barrier.q.head);
}

// --- once cell

static crt_poll make(int error)
{
    EX_ASSERT(!crt_once_cell_is_set(&cell));
    critical();   // one at a time
    return error;
}
static crt_poll initialise(int i, int error)
{
    crt_poll r;
    crt_cx *cx = &hand[i]->cx;
    MODEL_AWAIT(hand[i], r, crt_once_cell_init(cx, &cell, make(error)));
    hand_done(i);
    return r;
}
static void made(int times)
{
    EX_ASSERT(EX_READ(counter) == times);
    EX_ASSERT(crt_once_cell_is_set(&cell) && !cell.q.head && !cell.crt__maker);
    hands_free();
}
static void init_one(void *arg)
{
    EX_ASSERT(initialise((int)(intptr_t)arg, 0) == 0);
    EX_ASSERT(EX_READ(counter) >= 1);
}
static void init_or_fail(void *arg)
{
    crt_poll r = initialise((int)(intptr_t)arg, -5);
    EX_ASSERT(r == 0 || r == -5);
    unwinds += r == -5;
}
static void wait_for_it(void *arg)
{
    crt_poll r;
    int i = (int)(intptr_t)arg;
    MODEL_AWAIT(hand[i], r, crt_once_cell_wait(&hand[i]->cx, &cell));
    EX_ASSERT(r == 0 && EX_READ(counter) >= 1);
    hand_done(i);
}
static void two_initialise(void)
{
    setup();
    int a = ex_spawn(init_one, (void *)1), b = ex_spawn(wait_for_it, (void *)2);
    init_one((void *)0);
    ex_join(a), ex_join(b);
    made(1);
}
static void one_fails(void)
{
    setup();
    int a = ex_spawn(init_or_fail, (void *)1), b = ex_spawn(wait_for_it, (void *)2);
    init_one((void *)0);
    ex_join(a), ex_join(b);
    made(1 + unwinds);
}
// Its expression waits for something that never comes; it is cancelled while it makes,
// or while it waits for the turn.
static void init_and_give_up(void *arg)
{
    crt_poll r;
    crt_cx *cx = &hand[1]->cx;
    (void)arg;
    MODEL_TRY(hand[1], r, crt_once_cell_init(cx, &cell, crt_notified(cx, &notify)));
    EX_ASSERT(r == 0 || r == CRT_UNWIND);
    hand_done(1);
}
static void maker_gives_up(void)
{
    setup();
    int a = ex_spawn(init_and_give_up, NULL), b = ex_spawn(wait_for_it, (void *)2);
    init_one((void *)0);
    ex_join(a), ex_join(b);
    made(1);
    EX_ASSERT(!notify.q.head);
}
static void maker_leaves(void *arg)
{
    crt_poll r;
    crt_cx *cx = &hand[2]->cx;
    (void)arg;
    MODEL_GIVE_UP(hand[2], r, crt_once_cell_init(cx, &cell, crt_notified(cx, &notify)));
    EX_ASSERT(r == CRT_UNWIND);
    hand_done(2);
}
static void heir_leaves(void *arg)
{
    crt_poll r;
    (void)arg;
    MODEL_GIVE_UP(hand[1], r, crt_once_cell_init(&hand[1]->cx, &cell, make(0)));
    EX_ASSERT(r == CRT_UNWIND);
    hand_done(1);
}
// The first maker fails while the next in turn gives up: the third makes it.
static void heir_gives_up(void)
{
    setup();
    crt_cx *cx = &hand[2]->cx;
    EX_ASSERT(crt_once_cell_init(cx, &cell, crt_notified(cx, &notify)) == CRT_PENDING);
    EX_ASSERT(crt_once_cell_init(&hand[1]->cx, &cell, make(0)) == CRT_PENDING);
    int a = ex_spawn(heir_leaves, NULL), b = ex_spawn(maker_leaves, NULL);
    init_one((void *)0);
    ex_join(a), ex_join(b);
    made(1);
}

// --- cancel token

typedef struct token_frame {
    crt_cancel_token *t;
} token_frame;
static crt_poll cancelled_run(void *frame, crt_cx *cx)
{
    token_frame *self = frame;
    crt_poll r = crt_cancelled(cx, self->t);
    if (r == CRT_PENDING) return r;
    unwinds += r == CRT_UNWIND;
    EX_ASSERT(r == CRT_UNWIND || crt_cancel_token_is_cancelled(self->t));
    crt_cancel_token_drop(&self->t);
    return r;
}
static void cancel_it(void *arg)
{
    (void)arg;
    crt_cancel_token_cancel(token);
    crt_cancel_token_drop(&token);
}
// A child that is made while its parent is being cancelled is cancelled too.
static void cancel_and_publish(void *arg)
{
    EX_WRITE(counter) = 1;
    cancel_it(arg);
}
static void cancel_against_child(void)
{
    crt_poll r;
    setup();
    token = crt_cancel_token_new();
    crt_cancel_token *mine = crt_cancel_token_clone(token);
    int a = ex_spawn(cancel_and_publish, NULL);
    crt_cancel_token *child = crt_cancel_token_child(mine);
    crt_cancel_token_drop(&mine);
    MODEL_AWAIT(hand[0], r, crt_cancelled(&hand[0]->cx, child));
    EX_ASSERT(r == 0 && EX_READ(counter) == 1);
    crt_cancel_token_drop(&child);
    ex_join(a);
    hands_free();
}
static void cancel_against_wait(void)
{
    setup();
    token = crt_cancel_token_new();
    token_frame f = {crt_cancel_token_child(token)};
    model_start(cancelled_run, &f, sizeof f, NULL);
    int a = ex_spawn(cancel_it, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a);
    hands_free();
}
static void cancel_against_abort(void)
{
    setup();
    token = crt_cancel_token_new();
    token_frame f = {crt_cancel_token_child(token)};
    model_start(cancelled_run, &f, sizeof f, &first);
    int a = ex_spawn(cancel_it, NULL), b = ex_spawn(abort_first, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    crt_detach(&first);
    hands_free();
}

static const model models[] = {
    {.name = "lock: three threads", .run = three_lockers, .spurious_wakes = 1, .spurious_cas = 1},
    {.name = "lock: two threads and a try", .run = lock_against_try},
    {.name = "notify: one against a wait", .run = notify_against_wait, .spurious_wakes = 1, .spurious_cas = 1},
    {.name = "notify: one against a look", .run = notify_against_look},
    {.name = "notify: a permit is stored twice", .run = notify_twice},
    {.name = "notify: two and a wait that is given up", .run = two_against_give_up},
    {.name = "notify: who gives up passes it on", .run = notified_goes_on},
    {.name = "notify: who gives up leaves a permit", .run = notified_becomes_permit},
    {.name = "notify: the last, who gives up", .run = notify_last_goes_on},
    {.name = "notify: snapshot, then wait", .run = snapshot_then_wait},
    {.name = "notify: waiters against one", .run = waiters_against_one},
    {.name = "notify: a round against a permit", .run = round_against_permit},
    {.name = "notify: waiters against an abort", .run = notify_waiters_against_abort},
    {.name = "notify: a notification for an aborted task goes on", .run = notify_against_abort},
    {.name = "mutex: three take it", .run = three_hands},
    {.name = "mutex: handed over, and a try", .run = mutex_hand_over},
    {.name = "mutex: handed over against a look", .run = hand_over_against_look},
    {.name = "mutex: who gives up passes it on", .run = granted_gives_up},
    {.name = "mutex: a task's lock and a plain thread's", .run = task_and_thread},
    {.name = "mutex: handed to an aborted task", .run = unlock_against_abort},
    {.name = "barrier: three meet", .run = three_meet},
    {.name = "barrier: the last arrival, one gives up", .run = arrival_against_give_up},
    {.name = "barrier: one of three is aborted", .run = barrier_against_abort},
    {.name = "once cell: two make it, one waits", .run = two_initialise},
    {.name = "once cell: one fails", .run = one_fails},
    {.name = "once cell: the maker is cancelled", .run = maker_gives_up},
    {.name = "once cell: the maker and the next are cancelled", .run = heir_gives_up},
    {.name = "cancel token: cancel against a new child", .run = cancel_against_child},
    {.name = "cancel token: cancel against a wait on a child", .run = cancel_against_wait},
    {.name = "cancel token: cancel against an abort", .run = cancel_against_abort},

    {.name = "seed: lock: taken without an order", .run = three_lockers,
     .seed = {"crt__lock", "cas lock", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: lock: let go without an order", .run = three_lockers,
     .seed = {"crt__unlock", "store lock", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: lock: taken in two steps", .run = three_lockers,
     .seed = {"crt__lock", "cas lock", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: notify: stored without an order", .run = notify_against_wait,
     .seed = {"crt__notify_single", "cas &n->q.extra", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: notify: waits without saying so", .run = notify_against_wait,
     .seed = {"crt__notify_take", "cas &n->q.extra", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: notify: a permit that is there is left alone", .run = notify_twice,
     .seed = {"crt__notify_single", "cas &n->q.extra", MODEL_SKIP, 0, NULL, 2}},
    {.name = "seed: notify: does not wait for the notifier", .run = notify_against_look,
     .seed = {"crt__lock_pass", "load lock", MODEL_VALUE, 0, NULL, 0}},
    {.name = "seed: notify: gives up without the lock", .run = notified_goes_on,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, &notify.q.lock, 3}},
    {.name = "seed: notify: passed on without an order", .run = notified_becomes_permit,
     .seed = {"crt__notify_give", "cas &n->q.extra", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: notify: the round in two steps", .run = round_against_permit,
     .seed = {"crt_notify_waiters", "add &n->q.extra", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: notify: the round without an order", .run = snapshot_then_wait,
     .seed = {"crt_notify_waiters", "add &n->q.extra", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: mutex: unlocked without an order", .run = mutex_hand_over,
     .seed = {"crt_mutex_unlock", "cas &m->q.extra", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: mutex: taken without an order", .run = three_hands,
     .seed = {"crt_mutex_try_lock", "cas &m->q.extra", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: mutex: the waiter does not mark the lock", .run = mutex_hand_over,
     .seed = {"crt_mutex_lock", "cas &m->q.extra", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: mutex: the last hand-over leaves the mark", .run = three_hands,
     .seed = {"crt_mutex_unlock", "store &m->q.extra", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: mutex: does not wait for the unlocker", .run = hand_over_against_look,
     .seed = {"crt__lock_pass", "load lock", MODEL_VALUE, 0, NULL, 0}},
    {.name = "seed: barrier: comes without the lock", .run = three_meet,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, &barrier.q.lock, 2}},
    {.name = "seed: barrier: gives up without the lock", .run = arrival_against_give_up,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, &barrier.q.lock, 2}},
    {.name = "seed: once cell: set without an order", .run = two_initialise,
     .seed = {"crt__once_finish", "store &c->q.extra", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: once cell: seen without an order", .run = two_initialise,
     .seed = {"crt_once_cell_is_set", "load &c->q.extra", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: once cell: a failure leaves it as it is", .run = one_fails,
     .seed = {"crt__once_hand_over", "store &c->q.extra", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: cancel token: raised without an order", .run = cancel_against_child,
     .seed = {"crt_cancel_token_cancel", "store &t->cancelled", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: cancel token: references in two steps", .run = cancel_against_abort,
     .seed = {"crt__token_unref", "sub &t->refs", MODEL_SPLIT, 0, NULL, 0}},
};
MODEL_MAIN(models)
