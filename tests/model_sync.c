// model_sync.c - the small lock, and what hands something to a waiting task.
//
// Promise: one holder at a time, who sees what the one before wrote; what is handed to a
// task that is being cancelled goes to the next one; nothing is handed out twice or lost.
// Worker 0 (current thread) runs the waiting tasks; other threads give, take and abort.
#include "model_platform.h"

static int counter;        // plain: the lock's or the permit's holder may touch it
static uint32_t lock;
static crt_notify notify;
static crt_semaphore semaphore;
static crt_mutex mutex;
static crt_cancel_token *token;
static crt_oneshot_tx *tx;
static crt_oneshot_rx *rx;
static crt_join_handle *first, *second;
static int unwinds, holders;

static void setup(void)
{
    model_runtime(1);
    model_watch(&notify, sizeof notify);
    model_watch(&semaphore, sizeof semaphore);
    model_watch(&mutex, sizeof mutex);
    EX_WRITE(counter) = 0;
    lock = 0;
    memset(&notify, 0, sizeof notify);
    crt_semaphore_init(&semaphore, 0);
    memset(&mutex, 0, sizeof mutex);
    first = second = NULL;
    unwinds = holders = 0;
}
static crt_task *start(crt_fn fn, const void *frame, size_t size, crt_join_handle **join)
{
    crt_task *t = model_task(fn, frame, size, join != NULL);
    if (join) *join = model_handle(t);
    crt__list_push(&workers[0].fifo, t);
    return t;
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
}
static void lock_against_try(void)
{
    setup();
    int a = ex_spawn(lock_twice, (void *)2), b = ex_spawn(try_once, NULL);
    lock_twice((void *)1);
    ex_join(a), ex_join(b);
    EX_ASSERT(EX_READ(counter) >= 3 && lock == 0);
}

// --- notify

static crt_poll notified_run(void *frame, crt_cx *cx)
{
    (void)frame;
    crt_poll r = crt_notified(cx, &notify);
    unwinds += r == CRT_UNWIND;
    return r;
}
static void notify_them(void *arg)
{
    for (intptr_t i = 0; i < (intptr_t)arg; i++) crt_notify_one(&notify);
}
static void notify_against_wait(void)
{
    setup();
    start(notified_run, NULL, 0, NULL);
    int a = ex_spawn(notify_them, (void *)1);
    model_run_until(&workers[0], 1);
    ex_join(a);
    EX_ASSERT(!notify.q.head && !(notify.q.extra & CRT__NOTIFY_PERMIT));
}
// Two wait, the one who is notified is aborted: the other must get it. Two notifications
// and an abort are enough for both to end.
static void notify_against_abort(void)
{
    setup();
    start(notified_run, NULL, 0, &first);
    start(notified_run, NULL, 0, &second);
    int a = ex_spawn(notify_them, (void *)1), b = ex_spawn(abort_first, NULL), c = ex_spawn(worker, (void *)2);
    ex_join(b);
    int e = crt_join_blocking(&first, NULL);
    if (e == 0) crt_notify_one(&notify);   // used up by the first: one more for the second
    EX_ASSERT(crt_join_blocking(&second, NULL) == 0);
    ex_join(a), ex_join(c);
    EX_ASSERT(!notify.q.head && !(notify.q.extra & CRT__NOTIFY_PERMIT));
}
static void notify_all(void *arg)
{
    (void)arg;
    crt_notify_waiters(&notify);
}
static void notify_waiters_against_abort(void)
{
    setup();
    start(notified_run, NULL, 0, &first);
    start(notified_run, NULL, 0, &second);
    int a = ex_spawn(notify_all, NULL), b = ex_spawn(abort_first, NULL), c = ex_spawn(worker, (void *)2);
    ex_join(a), ex_join(b);
    crt_abort(second);   // in case it came too late for notify_waiters
    crt_join_blocking(&first, NULL);
    crt_join_blocking(&second, NULL);
    ex_join(c);
    EX_ASSERT(!notify.q.head && !(notify.q.extra & CRT__NOTIFY_PERMIT));   // never stored, never passed on
}

// --- semaphore

typedef struct want {
    size_t n;
} want;
static crt_poll acquire_run(void *frame, crt_cx *cx)
{
    want *self = frame;
    crt_poll r = crt_semaphore_acquire(cx, &semaphore, self->n);
    if (r == CRT_PENDING) return r;
    if (r == 0) critical();
    unwinds += r == CRT_UNWIND;
    return r;
}
static void release_them(void *arg)
{
    for (intptr_t i = 0; i < (intptr_t)arg; i++) crt_semaphore_release(&semaphore, 1);
}
static void release_against_acquire(void)
{
    setup();
    start(acquire_run, &(want){2}, sizeof(want), NULL);
    int a = ex_spawn(release_them, (void *)1), b = ex_spawn(release_them, (void *)1);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    EX_ASSERT(crt_semaphore_available(&semaphore) == 0 && !semaphore.p.q.head);
}
// The first waits for two, has one, and is aborted: one goes to the second.
static void release_against_abort(void)
{
    setup();
    start(acquire_run, &(want){2}, sizeof(want), &first);
    start(acquire_run, &(want){1}, sizeof(want), &second);
    int a = ex_spawn(release_them, (void *)2), b = ex_spawn(abort_first, NULL), c = ex_spawn(worker, (void *)2);
    ex_join(a), ex_join(b);
    size_t left = 1;
    if (crt_join_blocking(&first, NULL) == 0) {
        left = 0;
        crt_semaphore_release(&semaphore, 1);
    }
    EX_ASSERT(crt_join_blocking(&second, NULL) == 0);
    ex_join(c);
    EX_ASSERT(crt_semaphore_available(&semaphore) == left && !semaphore.p.q.head);
}
static void close_semaphore(void *arg)
{
    (void)arg;
    crt_semaphore_close(&semaphore);
}
static void close_against_abort(void)
{
    setup();
    start(acquire_run, &(want){2}, sizeof(want), &first);
    int a = ex_spawn(release_them, (void *)1), b = ex_spawn(abort_first, NULL), c = ex_spawn(close_semaphore, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b), ex_join(c);
    EX_ASSERT(crt_semaphore_available(&semaphore) == 1 && !semaphore.p.q.head);
    crt_detach(&first);
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
static void mutex_hand_over(void)
{
    setup();
    crt_mutex_try_lock(&mutex);
    start(lock_run, NULL, 0, NULL);
    start(lock_run, NULL, 0, NULL);
    int a = ex_spawn(unlock_it, NULL), b = ex_spawn(try_mutex, NULL);
    model_run_until(&workers[0], 2);
    ex_join(a), ex_join(b);
    EX_ASSERT(!mutex.q.head && mutex.q.extra == 0 && EX_READ(counter) >= 3);
}
static void unlock_against_abort(void)
{
    setup();
    crt_mutex_try_lock(&mutex);
    start(lock_run, NULL, 0, &first);
    start(lock_run, NULL, 0, &second);
    int a = ex_spawn(unlock_it, NULL), b = ex_spawn(abort_first, NULL), c = ex_spawn(worker, (void *)2);
    EX_ASSERT(crt_join_blocking(&second, NULL) == 0);
    ex_join(a), ex_join(b), ex_join(c);
    crt_detach(&first);
    EX_ASSERT(!mutex.q.head && mutex.q.extra == 0);
}

// --- rwlock, barrier

static crt_rwlock rwlock;
static crt_barrier barrier;
static int readers;
static crt_poll write_run(void *frame, crt_cx *cx)
{
    (void)frame;
    crt_poll r = crt_rwlock_write(cx, &rwlock);
    if (r == CRT_PENDING) return r;
    if (r == 0) {
        EX_ASSERT(!readers);
        critical();
        crt_rwlock_unlock_write(&rwlock);
    }
    return r;
}
static crt_poll read_run(void *frame, crt_cx *cx)
{
    (void)frame;
    crt_poll r = crt_rwlock_read(cx, &rwlock);
    if (r == CRT_PENDING) return r;
    if (r == 0) {
        readers++;
        EX_ASSERT(!holders && EX_READ(counter) < 10);
        readers--;
        crt_rwlock_unlock_read(&rwlock);
    }
    return r;
}
static void unlock_read(void *arg)
{
    (void)arg;
    EX_ASSERT(EX_READ(counter) == 0);   // the writer is not in yet
    crt_rwlock_unlock_read(&rwlock);
}
// A reader is in, a writer waits and is aborted, a reader waits behind it.
static void rwlock_against_abort(void)
{
    setup();
    memset(&rwlock, 0, sizeof rwlock);
    readers = 0;
    EX_ASSERT(crt_rwlock_try_read(&rwlock) == 0);
    start(write_run, NULL, 0, &first);
    start(read_run, NULL, 0, &second);
    int a = ex_spawn(unlock_read, NULL), b = ex_spawn(abort_first, NULL), c = ex_spawn(worker, (void *)2);
    EX_ASSERT(crt_join_blocking(&second, NULL) == 0);
    ex_join(a), ex_join(b), ex_join(c);
    crt_detach(&first);
    EX_ASSERT(!rwlock.p.q.head && !rwlock.p.word);
}
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
    start(barrier_run, NULL, 0, &first);
    start(barrier_run, NULL, 0, NULL);
    start(barrier_run, NULL, 0, &second);
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
}

// --- oneshot

static crt_poll recv_run(void *frame, crt_cx *cx)
{
    (void)frame;
    int value = 0;
    crt_poll r = crt_oneshot_recv(cx, &rx, &value);
    if (r == CRT_PENDING) return r;
    if (r == CRT_UNWIND) {
        unwinds++;
        crt_oneshot_rx_drop(&rx);
        return r;
    }
    EX_ASSERT(!rx && (r == 0 ? value == 42 : r == CRT_ECLOSED));
    return r == 0 ? 42 : 0;
}
static int sent;
static void send_it(void *arg)
{
    (void)arg;
    int value = 42;
    sent = crt_oneshot_send(&tx, &value);
}
static void drop_sender(void *arg)
{
    (void)arg;
    crt_oneshot_tx_drop(&tx);
}
static void oneshot_with(void (*sender)(void *), bool abort)
{
    setup();
    intptr_t result = 0;
    EX_ASSERT(crt_oneshot_new(sizeof(int), &tx, &rx) == 0);
    start(recv_run, NULL, 0, &first);
    int a = ex_spawn(sender, NULL), c = ex_spawn(worker, (void *)1);
    if (abort) crt_abort(first);
    int e = crt_join_blocking(&first, &result);
    EX_ASSERT(e == 0 ? result == (sender == send_it ? 42 : 0) : abort && e == CRT_ECANCELED && unwinds == 1);
    ex_join(a), ex_join(c);
    if (sender == send_it && sent == CRT_ECLOSED) EX_ASSERT(unwinds == 1);
}
static void oneshot_send(void) { oneshot_with(send_it, false); }
static void oneshot_drop(void) { oneshot_with(drop_sender, false); }
static void oneshot_send_against_abort(void) { oneshot_with(send_it, true); }
static void oneshot_drop_against_abort(void) { oneshot_with(drop_sender, true); }

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
static void cancel_against_wait(void)
{
    setup();
    token = crt_cancel_token_new();
    token_frame f = {crt_cancel_token_child(token)};
    start(cancelled_run, &f, sizeof f, NULL);
    int a = ex_spawn(cancel_it, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a);
}
static void cancel_against_abort(void)
{
    setup();
    token = crt_cancel_token_new();
    token_frame f = {crt_cancel_token_child(token)};
    start(cancelled_run, &f, sizeof f, &first);
    int a = ex_spawn(cancel_it, NULL), b = ex_spawn(abort_first, NULL);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    crt_detach(&first);
}

// --- mpsc

static crt_mpsc_tx *mtx;
static crt_mpsc_rx *mrx;
static void send_two(void *arg)
{
    int value = (int)(intptr_t)arg;
    EX_ASSERT(crt_mpsc_blocking_send(mtx, &value) == 0);
    value++;
    EX_ASSERT(crt_mpsc_blocking_send(mtx, &value) == 0);
}
static crt_poll drain_run(void *frame, crt_cx *cx)
{
    want *self = frame;
    int value;
    for (;;) {
        crt_poll r = crt_mpsc_recv(cx, mrx, &value);
        if (r == CRT_PENDING) return r;
        if (r) return r;
        EX_ASSERT(value % 10 == counter / 10 % 10 || value >= 10);
        EX_WRITE(counter) = EX_READ(counter) + (value < 10 ? 10 : 100);
        if (--self->n == 0) return 0;
    }
}
// One place: senders wait for room, the receiver for elements.
static void mpsc_two_senders(void)
{
    setup();
    EX_ASSERT(crt_mpsc_new(sizeof(int), 1, &mtx, &mrx) == 0);
    start(drain_run, &(want){4}, sizeof(want), NULL);
    int a = ex_spawn(send_two, (void *)0), b = ex_spawn(send_two, (void *)10);
    model_run_until(&workers[0], 1);
    ex_join(a), ex_join(b);
    EX_ASSERT(EX_READ(counter) == 220);
    crt_mpsc_rx_drop(&mrx);
    crt_mpsc_tx_drop(&mtx);
}
static void send_and_drop(void *arg)
{
    send_two(arg);
    crt_mpsc_tx_drop(&mtx);
}
// The receiver learns that the last sender has gone, after all it has sent.
static void mpsc_drop_sender(void)
{
    setup();
    EX_ASSERT(crt_mpsc_new(sizeof(int), 1, &mtx, &mrx) == 0);
    start(drain_run, &(want){9}, sizeof(want), &first);
    int a = ex_spawn(send_and_drop, (void *)0);
    model_run_until(&workers[0], 1);
    ex_join(a);
    intptr_t result = 0;
    EX_ASSERT(crt_join_blocking(&first, &result) == 0 && result == CRT_ECLOSED);
    EX_ASSERT(EX_READ(counter) == 20);
    crt_mpsc_rx_drop(&mrx);
}
static void close_receiver(void *arg)
{
    (void)arg;
    crt_mpsc_rx_drop(&mrx);
}
static void mpsc_drop_receiver(void)
{
    setup();
    EX_ASSERT(crt_mpsc_new(sizeof(int), 1, &mtx, &mrx) == 0);
    int a = ex_spawn(close_receiver, NULL), n = 0, value = 1;
    while (crt_mpsc_blocking_send(mtx, &value) == 0) n++;
    EX_ASSERT(n <= 1);
    ex_join(a);
    crt_mpsc_tx_drop(&mtx);
}

static const model models[] = {
    {.name = "lock: three threads", .run = three_lockers, .spurious_wakes = 1, .spurious_cas = 1},
    {.name = "lock: two threads and a try", .run = lock_against_try},
    {.name = "notify: one against a wait", .run = notify_against_wait},
    {.name = "notify: a notification for an aborted task goes on", .run = notify_against_abort},
    {.name = "notify: waiters against an abort", .run = notify_waiters_against_abort},
    {.name = "semaphore: two releases make two permits", .run = release_against_acquire},
    {.name = "semaphore: permits of an aborted task go on", .run = release_against_abort},
    {.name = "semaphore: close, release and abort", .run = close_against_abort},
    {.name = "mutex: handed over, and a try", .run = mutex_hand_over},
    {.name = "mutex: handed to an aborted task", .run = unlock_against_abort},
    {.name = "rwlock: a writer is aborted before a reader", .run = rwlock_against_abort},
    {.name = "barrier: one of three is aborted", .run = barrier_against_abort},
    {.name = "oneshot: send", .run = oneshot_send},
    {.name = "oneshot: the sender goes", .run = oneshot_drop},
    {.name = "oneshot: send against an abort", .run = oneshot_send_against_abort},
    {.name = "oneshot: the sender goes against an abort", .run = oneshot_drop_against_abort},
    {.name = "cancel token: cancel against a wait on a child", .run = cancel_against_wait},
    {.name = "cancel token: cancel against an abort", .run = cancel_against_abort},
    {.name = "mpsc: two senders, one place", .run = mpsc_two_senders},
    {.name = "mpsc: the last sender goes", .run = mpsc_drop_sender},
    {.name = "mpsc: the receiver goes", .run = mpsc_drop_receiver},

    {.name = "seed: lock: taken without an order", .run = three_lockers,
     .seed = {"crt__lock", "cas lock", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: lock: let go without an order", .run = three_lockers,
     .seed = {"crt__unlock", "xchg lock", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: lock: let go in two steps", .run = three_lockers,
     .seed = {"crt__unlock", "xchg lock", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: notify: an aborted task does not wait for the notifier", .run = notify_against_abort,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, &notify.q.lock, 4}},
    {.name = "seed: semaphore: an aborted task does not wait for the releaser", .run = release_against_abort,
     .seed = {"crt__lock", NULL, MODEL_SKIP, 0, &semaphore.p.q.lock, 4}},
    {.name = "seed: mutex: unlocked without an order", .run = mutex_hand_over,
     .seed = {"crt_mutex_unlock", "cas &m->q.extra", MODEL_RELAX, 0, NULL, 0}},
    {.name = "seed: mutex: the waiter does not mark the lock", .run = mutex_hand_over,
     .seed = {"crt_mutex_lock", "cas &m->q.extra", MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: oneshot: sent in two steps", .run = oneshot_send,
     .seed = {"crt__oneshot_end", "cas &o->word", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: oneshot: a cancelled wait stays registered", .run = oneshot_send_against_abort,
     .seed = {"crt__word_unpark", NULL, MODEL_SKIP, 0, NULL, 0}},
    {.name = "seed: cancel token: references in two steps", .run = cancel_against_abort,
     .seed = {"crt__token_unref", "sub &t->refs", MODEL_SPLIT, 0, NULL, 0}},
    {.name = "seed: mpsc: a sender waits without saying so", .run = mpsc_two_senders,
     .seed = {"crt__mpsc_wait_room", "or &c->taken", MODEL_SKIP, 0, NULL, 0}},
};
MODEL_MAIN(models)
