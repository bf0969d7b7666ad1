// CRT_NO_THREADS without an operating system, where handlers of interrupts call crt: each scene
// is run once for each place where the handler can come in (interrupts_platform.h), then with a
// second interrupt some places after the first.
#include <stddef.h>
#include <stdlib.h>
static void *t_malloc(size_t n);
static void t_free(void *p);
#define CRT_MALLOC(n) t_malloc(n)
#define CRT_FREE(p) t_free(p)
#define CRT_NO_THREADS
#define CRT__BARE
#define CRT_PLATFORM_HEADER "interrupts_platform.h"
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"

// What a handler may ask the heap for is in the manual; each scene says whether its own may.
static long blocks;
static void *t_malloc(size_t n)
{
    if (machine.inside && !machine.may_heap) machine_note("a handler asks the heap");
    blocks++;
    return malloc(n);
}
static void t_free(void *p)
{
    if (machine.inside && !machine.may_heap) machine_note("a handler frees");
    blocks -= p != NULL;
    free(p);
}

typedef struct frame {
    crt_frame co;
    crt_poll r;
    int i, value;
    uint32_t seen;
    uint64_t lagged;
    intptr_t result;
    crt_timer timer;
    CRT_SELECT(2) both;
} frame;
// What a run has; all of it is new in each.
static struct {
    crt_runtime *rt;
    crt_handle *handle;
    crt_notify notify;
    crt_semaphore permits;
    crt_mutex mutex;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    crt_oneshot_tx *once_tx;
    crt_oneshot_rx *once_rx;
    crt_watch_tx *watch_tx;
    crt_watch_rx *watch_rx;
    crt_broadcast_tx *all_tx;
    crt_broadcast_rx *all_rx;
    crt_cancel_token *token;
    crt_join_handle *join;
    crt_waker waker;
    bool has_waker, told, mine;
    int sent, got, e;
    frame root;
} w;
typedef struct scene {
    void (*handler)(void);
    crt_fn fn;               // the root; or a function without a task
    void (*plain)(void);
    void (*after)(void);     // NULL, or looks at what is left
    size_t capacity;         // of the channel; 0: unbounded
    bool ticks, may_heap, schedule_times;
} scene;

static void begin(const scene *s)
{
    int first = 0;
    memset(&machine, 0, sizeof machine);
    memset(&w, 0, sizeof w);
    machine.now = 1000;
    crt_config c = {.flavor = CRT_CURRENT_THREAD, .seed = 1};
    if (s->schedule_times) c.schedule_histogram = CRT_HISTOGRAM_LOG;
    CHECK_EQ(crt_runtime_new(&c, &w.rt), 0);
    w.handle = crt_runtime_handle(w.rt);
    w.token = crt_cancel_token_new();
    crt_semaphore_init(&w.permits, 0);
    CHECK_EQ(crt_mpsc_new(sizeof(int), s->capacity, &w.tx, &w.rx), 0);
    CHECK_EQ(crt_oneshot_new(sizeof(int), &w.once_tx, &w.once_rx), 0);
    CHECK_EQ(crt_watch_new(sizeof(int), &first, &w.watch_tx, &w.watch_rx), 0);
    CHECK_EQ(crt_broadcast_new(sizeof(int), 4, &w.all_tx), 0);
    CHECK_EQ(crt_broadcast_subscribe(w.all_tx, &w.all_rx), 0);
}
static void end(void)
{
    crt_handle_drop(&w.handle);
    crt_cancel_token_drop(&w.token);
    crt_mpsc_tx_drop(&w.tx);
    crt_mpsc_rx_drop(&w.rx);
    crt_oneshot_tx_drop(&w.once_tx);
    crt_oneshot_rx_drop(&w.once_rx);
    crt_watch_tx_drop(&w.watch_tx);
    crt_watch_rx_drop(&w.watch_rx);
    crt_broadcast_tx_drop(&w.all_tx);
    crt_broadcast_rx_drop(&w.all_rx);
    crt_detach(&w.join);
    crt_runtime_drop(&w.rt);
    if (w.has_waker) crt_waker_drop(&w.waker);
    CHECK_EQ(blocks, 0);
}
// With interrupts at these places. How many there were.
static long run_once(const scene *s, long first, long second)
{
    begin(s);
    machine.handler = s->handler;
    machine.ticks = s->ticks;
    machine.may_heap = s->may_heap;
    machine.may_time = s->schedule_times;
    machine.places = machine.runs = 0;
    machine.at[0] = first;
    machine.at[1] = second;
    if (!setjmp(machine.out)) {
        if (s->fn) CHECK_EQ(crt_block_on(w.rt, s->fn, &w.root), 0);
        else s->plain();
        machine.at[0] = machine.at[1] = 0;
        machine.ticks = false;
        if (s->after) s->after();
        long places = machine.places;
        machine.places = 0;
        end();
        machine.places = places;
    } else {   // what it was about stays as it is
        crt__locks_held = 0;
        memset(crt__contexts, 0, sizeof crt__contexts);
        machine.off = false;
        blocks = 0;
    }
    if (machine.wrong) test__fail(__FILE__, __LINE__, machine.wrong);
    if (test__bad) fprintf(stderr, "interrupts at %ld and %ld of %ld places\n", first, second, machine.places);
    return machine.places;
}
static void everywhere(const scene *s)
{
    static const long later[] = {0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89};
    long runs = 0;
    for (long k = 1, places = k; k <= places && !test__bad; k++)
        for (size_t i = 0; i < sizeof later / sizeof *later && !test__bad; i++, runs++) {
            long n = run_once(s, k, later[i] ? k + later[i] : 0);
            if (i == 0) places = n;
        }
    CHECK(runs > 20 || test__bad);
}

// ---- What is woken ----------------------------------------------------------------------

static void notifies(void)
{
    w.told = true;
    crt_notify_one(&w.notify);
}
static crt_poll notified_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_notified(cx, &w.notify));
    CHECK(w.told);
    CRT_RETURN(self->r);
    CRT_END;
}
static void a_notification(void) { everywhere(&(scene){.handler = notifies, .fn = notified_run}); }
// The same with the clock of the histogram, at which the handler then looks.
static void waits_are_measured(void)
{
    crt_runtime_metrics m;
    CHECK_EQ(crt_metrics(w.rt, &m), 0);
    CHECK(m.schedule_histogram_count > 0);
}
static void a_notification_is_timed(void)
{
    everywhere(&(scene){.handler = notifies, .fn = notified_run, .after = waits_are_measured, .schedule_times = true});
}
static crt_poll notified_in_time_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 4; self->i++) {
        CRT_AWAIT(self->r = crt_select(cx, &self->both, crt_on(cx, 0, crt_notified(cx, &w.notify)),
                                       crt_on(cx, 1, crt_sleep(cx, CRT_MS(70)))));
        if (self->r == 0) CRT_RETURN(w.told ? 0 : CRT_EPROTO);
    }
    CRT_AWAIT(self->r = crt_notified(cx, &w.notify));
    CRT_RETURN(self->r);
    CRT_END;
}
static void a_notification_or_a_time_out(void)
{
    everywhere(&(scene){.handler = notifies, .fn = notified_in_time_run});
}
static void notifies_all(void)
{
    w.told = true;
    crt_notify_waiters(&w.notify);
}
static crt_poll notified_since_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    for (;;) {
        self->seen = crt_notify_snapshot(&w.notify);
        if (w.told) break;
        CRT_AWAIT(crt_notified_since(cx, &w.notify, self->seen));
    }
    CRT_END;
}
static void all_are_notified(void) { everywhere(&(scene){.handler = notifies_all, .fn = notified_since_run}); }

static void wakes(void)
{
    w.told = true;
    if (!w.has_waker) return;
    w.has_waker = false;
    crt_wake(&w.waker);
}
static crt_poll told(crt_cx *cx)
{
    if (!w.told && !w.has_waker) {
        w.waker = crt_waker_clone(cx);
        w.has_waker = true;
    }
    return w.told ? 0 : CRT_PENDING;
}
static crt_poll woken_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = told(cx));
    CRT_RETURN(self->r);
    CRT_END;
}
static void a_waker(void) { everywhere(&(scene){.handler = wakes, .fn = woken_run}); }

static void releases(void) { crt_semaphore_release(&w.permits, 1); }
static crt_poll acquires_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_semaphore_acquire(cx, &w.permits, 2));
    CRT_RETURN(self->r);
    CRT_END;
}
static void permits(void) { everywhere(&(scene){.handler = releases, .fn = acquires_run, .ticks = true}); }

static void unlocks(void)
{
    if (w.mine) {
        w.mine = false;
        crt_mutex_unlock(&w.mutex);
    } else if (crt_mutex_try_lock(&w.mutex) == 0) {
        crt_mutex_unlock(&w.mutex);
    }
}
static crt_poll locks_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_mutex_try_lock(&w.mutex), 0);
    w.mine = true;
    CRT_AWAIT(self->r = crt_mutex_lock(cx, &w.mutex));
    crt_mutex_unlock(&w.mutex);
    CRT_RETURN(self->r);
    CRT_END;
}
static void a_mutex(void) { everywhere(&(scene){.handler = unlocks, .fn = locks_run, .ticks = true}); }

static void cancels(void) { crt_cancel_token_cancel(w.token); }
static crt_poll cancelled_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_cancelled(cx, w.token));
    CRT_RETURN(self->r);
    CRT_END;
}
static void a_token(void) { everywhere(&(scene){.handler = cancels, .fn = cancelled_run}); }

static void aborts(void)
{
    if (w.join) crt_abort(w.join);
}
static crt_poll sleeper_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    for (; self->i < 6; self->i++) CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
    CRT_END;
}
static crt_poll joins_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    CHECK_EQ(crt_spawn_join(cx, &w.join, sleeper_run, &(frame){.i = 0}), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(2)));
    CRT_AWAIT(self->r = crt_join(cx, &w.join, &self->result));
    CHECK(self->r == 0 || self->r == CRT_ECANCELED);
    CRT_END;
}
static void an_abort(void) { everywhere(&(scene){.handler = aborts, .fn = joins_run}); }

static crt_poll notifies_run(void *arg, crt_cx *cx)
{
    (void)arg, (void)cx;
    notifies();
    return 0;
}
static void spawns(void)
{
    w.e = crt_handle_spawn(w.handle, notifies_run, &(int){0});
    if (w.e) machine_note("a spawn by a handler fails");
}
static void a_spawn(void) { everywhere(&(scene){.handler = spawns, .fn = notified_run, .may_heap = true}); }

// ---- What is sent -----------------------------------------------------------------------

static void sends(void)
{
    int value = 100 + w.sent++;
    w.e = crt_mpsc_try_send(w.tx, &value);
    if (w.e) machine_note("a send by a handler fails");
}
// Its own values and those of the handler, each in order.
static crt_poll receives_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    while (self->i < 9 || w.got == 0) {
        if (self->i < 9) CHECK_EQ(crt_mpsc_try_send(w.tx, &self->i), 0);
        do {
            CRT_AWAIT(self->r = crt_mpsc_recv(cx, w.rx, &self->value));
            if (self->r) CRT_RETURN(self->r);
            CHECK_EQ(self->value, self->value < 100 ? self->i : 100 + w.got);
            if (self->value < 100) self->i++;
            else w.got++;
        } while (self->value >= 100 && self->i < 9);
    }
    CRT_END;
}
static void all_were_received(void)
{
    for (int value; crt_mpsc_try_recv(w.rx, &value) == 0;) CHECK_EQ(value, 100 + w.got++);
    CHECK_EQ(w.got, w.sent);
}
static void a_handler_sends(void)
{
    everywhere(&(scene){.handler = sends, .fn = receives_run, .after = all_were_received, .capacity = 4});
    everywhere(&(scene){.handler = sends, .fn = receives_run, .after = all_were_received, .may_heap = true});
}
// The handler is what drains the channel: a transmitter, say.
static void receives(void)
{
    int value;
    while ((w.e = crt_mpsc_try_recv(w.rx, &value)) == 0)
        if (value != w.got++) machine_note("out of order");
    if (w.e != CRT_EEMPTY) machine_note("not empty");
}
static crt_poll sends_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < 9; self->i++) {
        CRT_AWAIT(self->r = crt_mpsc_send(cx, w.tx, &self->i));
        if (self->r) CRT_RETURN(self->r);
    }
    CRT_END;
}
static void nine_were_sent(void)
{
    receives();
    CHECK_EQ(w.got, 9);
}
static void a_handler_receives(void)
{
    everywhere(&(scene){.handler = receives, .fn = sends_run, .after = nine_were_sent, .capacity = 4, .ticks = true});
    everywhere(&(scene){.handler = receives, .fn = sends_run, .after = nine_were_sent, .may_heap = true});
}

static void sends_once(void)
{
    if (w.once_tx) w.e = crt_oneshot_send(&w.once_tx, &(int){5});
}
static crt_poll receives_once_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_oneshot_recv(cx, &w.once_rx, &self->value));
    CHECK_EQ(self->value, 5);
    CRT_RETURN(self->r);
    CRT_END;
}
static void one_value(void) { everywhere(&(scene){.handler = sends_once, .fn = receives_once_run}); }
// The last of the two that goes frees it: here that can be the handler.
static crt_poll receives_in_time_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(3), crt_oneshot_recv(cx, &w.once_rx, &self->value)));
    CHECK(self->r == 0 ? self->value == 5 : self->r == CRT_ETIMEDOUT);
    crt_oneshot_rx_drop(&w.once_rx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(3)));
    CRT_END;
}
static void one_value_or_a_time_out(void)
{
    everywhere(&(scene){.handler = sends_once, .fn = receives_in_time_run, .may_heap = true});
}

static void publishes(void)
{
    w.sent++;
    if (crt_watch_send(w.watch_tx, &w.sent)) machine_note("a handler does not publish");
}
static crt_poll watches_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_watch_changed(cx, w.watch_rx));
    crt_watch_get_update(w.watch_rx, &self->value);
    CHECK(self->value > 0);
    CRT_RETURN(self->r);
    CRT_END;
}
static void a_watch(void) { everywhere(&(scene){.handler = publishes, .fn = watches_run}); }

static void broadcasts(void)
{
    int value = 100 + w.sent++;
    if (crt_broadcast_send(w.all_tx, &value) != 1) machine_note("a handler does not broadcast");
}
static crt_poll hears_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_broadcast_recv(cx, w.all_rx, &self->value, &self->lagged));
    CHECK_EQ(self->value, 100);
    CRT_RETURN(self->r);
    CRT_END;
}
static void a_handler_broadcasts(void) { everywhere(&(scene){.handler = broadcasts, .fn = hears_run}); }
static void hears(void)
{
    uint64_t lagged;
    int value;
    while ((w.e = crt_broadcast_try_recv(w.all_rx, &value, &lagged)) == 0)
        if (value != w.got++) machine_note("out of order");
}
static crt_poll broadcasts_run(void *arg, crt_cx *cx)
{
    (void)arg, (void)cx;
    for (int i = 0; i < 4; i++) CHECK_EQ(crt_broadcast_send(w.all_tx, &i), 1);
    return 0;
}
static void four_were_heard(void)
{
    hears();
    CHECK_EQ(w.got, 4);
}
static void a_handler_hears(void)
{
    everywhere(&(scene){.handler = hears, .fn = broadcasts_run, .after = four_were_heard});
}

// ---- Without a task ---------------------------------------------------------------------

// A wait without a task sleeps, and a handler ends it.
static void waits_for_a_notification(void) { CHECK_EQ(crt_notified_blocking(&w.notify), 0); }
static void waits_for_permits(void) { CHECK_EQ(crt_semaphore_blocking_acquire(&w.permits, 2), 0); }
static void waits_for_a_lock(void)
{
    CHECK_EQ(crt_mutex_try_lock(&w.mutex), 0);
    w.mine = true;
    CHECK_EQ(crt_mutex_blocking_lock(&w.mutex), 0);
    crt_mutex_unlock(&w.mutex);
}
static void waits_for_values(void)
{
    for (int i = 0, value; i < 3; i++) CHECK(crt_mpsc_blocking_recv(w.rx, &value) == 0 && value == 100 + w.got++);
}
static void waits_for_room(void)
{
    for (int i = 0; i < 9; i++) CHECK_EQ(crt_mpsc_blocking_send(w.tx, &i), 0);
}
static void waits_for_one_value(void)
{
    int value = 0;
    CHECK(crt_oneshot_blocking_recv(&w.once_rx, &value) == 0 && value == 5);
}
static void waits_for_a_broadcast(void)
{
    uint64_t lagged;
    int value = 0;
    CHECK(crt_broadcast_blocking_recv(w.all_rx, &value, &lagged) == 0 && value == 100);
}
static void a_handler_ends_waits_without_a_task(void)
{
    everywhere(&(scene){.handler = notifies, .plain = waits_for_a_notification});
    everywhere(&(scene){.handler = releases, .plain = waits_for_permits, .ticks = true});
    everywhere(&(scene){.handler = unlocks, .plain = waits_for_a_lock, .ticks = true});
    everywhere(&(scene){.handler = sends, .plain = waits_for_values, .after = all_were_received, .capacity = 4,
                        .ticks = true});
    everywhere(&(scene){.handler = receives, .plain = waits_for_room, .after = nine_were_sent, .capacity = 4,
                        .ticks = true});
    everywhere(&(scene){.handler = sends_once, .plain = waits_for_one_value});
    everywhere(&(scene){.handler = broadcasts, .plain = waits_for_a_broadcast});
}
// A handler itself cannot sleep: it is told so, and leaves nothing behind.
static void waits_in_a_handler(void)
{
    int value = 0;
    uint64_t lagged;
    if (crt_notified_blocking(&w.notify) != CRT_ENOCONTEXT || crt_mpsc_blocking_recv(w.rx, &value) != CRT_ENOCONTEXT ||
        crt_oneshot_blocking_recv(&w.once_rx, &value) != CRT_ENOCONTEXT || !w.once_rx ||
        crt_broadcast_blocking_recv(w.all_rx, &value, &lagged) != CRT_ENOCONTEXT ||
        crt_semaphore_blocking_acquire(&w.permits, 1) != CRT_ENOCONTEXT)
        machine_note("a handler may wait");
    w.told = true;
}
static void nobody_waits(void)
{
    CHECK(w.told);
    crt_notify_one(&w.notify);
    waits_for_a_notification();
    releases();
    CHECK_EQ(crt_semaphore_try_acquire(&w.permits, 1), 0);
}
static void a_place(void) { machine_place(); }
static void a_handler_cannot_wait(void)
{
    scene s = {.handler = waits_in_a_handler, .plain = a_place, .after = nobody_waits, .capacity = 4};
    run_once(&s, 1, 0);
}

// ---- The end of a runtime ---------------------------------------------------------------

// Against the last of its wakers and handles; what is still held then goes after it.
static crt_poll leaves_a_waker_run(void *arg, crt_cx *cx)
{
    (void)arg;
    w.waker = crt_waker_clone(cx);
    w.has_waker = true;
    return 0;
}
static crt_poll nothing_run(void *arg, crt_cx *cx) { return (void)arg, (void)cx, 0; }
static void drops_the_waker(void)
{
    if (!w.has_waker) return;
    w.has_waker = false;
    crt_waker_drop(&w.waker);
}
static void drops_the_handle(void) { crt_handle_drop(&w.handle); }
static void spawns_late(void)
{
    w.e = crt_handle_spawn(w.handle, nothing_run, &(int){0});
    if (w.e && w.e != CRT_ESHUTDOWN) machine_note("a late spawn");
}
// Where the handler is the first interrupt, it is in the drop that it comes.
static void dropped(void) { crt_runtime_drop(&w.rt); }
static void a_waker_dropped(void)
{
    void (*handler)(void) = machine.handler;
    long at[] = {machine.at[0], machine.at[1]};
    machine.at[0] = machine.at[1] = 0;
    crt_handle_drop(&w.handle);
    CHECK_EQ(crt_block_on(w.rt, leaves_a_waker_run, &w.root), 0);
    machine.handler = handler;
    machine.places = 0;
    memcpy(machine.at, at, sizeof at);
    dropped();
}
static void the_end_of_a_runtime(void)
{
    everywhere(&(scene){.handler = drops_the_waker, .plain = a_waker_dropped, .may_heap = true});
    everywhere(&(scene){.handler = wakes, .plain = a_waker_dropped, .may_heap = true});
    everywhere(&(scene){.handler = drops_the_handle, .plain = dropped, .may_heap = true});
    everywhere(&(scene){.handler = spawns_late, .plain = dropped, .may_heap = true});
}

// ---- What is not there ------------------------------------------------------------------

static intptr_t job(void *arg) { return (intptr_t)arg; }
static crt_poll asks_run(void *arg, crt_cx *cx)
{
    frame *self = arg;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_signal_recv(cx, 1));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    CRT_AWAIT(self->r = crt_ctrl_c(cx));
    CHECK_EQ(self->r, CRT_ENODRIVER);
    CHECK_EQ(crt_spawn_blocking(cx, &w.join, job, NULL), -ENOTSUP);
    CRT_END;
}
static void there_is_no_system(void)
{
    memset(&machine, 0, sizeof machine);
    memset(&w, 0, sizeof w);
    crt_runtime *rt = NULL;
    crt_config c = {.flavor = CRT_CURRENT_THREAD, .drivers = CRT_DRIVER_IO | CRT_DRIVER_TIME, .log.func = test_log};
    CHECK_EQ(crt_runtime_new(&c, &rt), CRT_EINVAL);
    CHECK(!rt && test_log_has("there are only timers here"));
    c.drivers = 0;
    CHECK_EQ(crt_runtime_new(&c, &rt), 0);
    CHECK_EQ(crt_runtime_poll_fd(rt), CRT_ENODRIVER);
    CHECK_EQ(crt_block_on(rt, asks_run, &w.root), 0);
    // What stands for descriptors and the reactor: nobody comes there, and it does nothing.
    int e = 0;
    crt__thread_set_name("nobody");
    CHECK(!crt__reactor_new(rt, 1, &e) && e == CRT_ENODRIVER);
    CHECK_EQ(crt__reactor_wait(NULL, rt, 0), 0);
    CHECK_EQ(crt__reactor_fd(NULL), CRT_ENODRIVER);
    crt__reactor_wake(NULL);
    crt__reactor_free(rt, NULL);
    crt__fd_close(-1);
    crt_runtime_drop(&rt);
    CHECK_EQ(blocks, 0);
}

int main(int argc, char **argv)
{
    (void)test__on_each;
    test_init(argc, argv);
    TEST(a_notification);
    TEST(a_notification_is_timed);
    TEST(a_notification_or_a_time_out);
    TEST(all_are_notified);
    TEST(a_waker);
    TEST(permits);
    TEST(a_mutex);
    TEST(a_token);
    TEST(an_abort);
    TEST(a_spawn);
    TEST(a_handler_sends);
    TEST(a_handler_receives);
    TEST(one_value);
    TEST(one_value_or_a_time_out);
    TEST(a_watch);
    TEST(a_handler_broadcasts);
    TEST(a_handler_hears);
    TEST(a_handler_ends_waits_without_a_task);
    TEST(a_handler_cannot_wait);
    TEST(the_end_of_a_runtime);
    TEST(there_is_no_system);
    return test_end();
}
