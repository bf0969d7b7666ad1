// crt.h from C++17: the declarations and every coroutine macro. tests/warnings.sh
// compiles this with all warnings as errors, links it with an implementation that was
// compiled as C, and runs it. It prints nothing if all is well; the exit status says so.
#include "crt.h"

#include <cstdio>
#include <cstring>
#include <type_traits>

static_assert(std::is_standard_layout<crt_frame>::value && std::is_trivial<crt_frame>::value, "a frame is plain data");
static_assert(std::is_same<crt_poll, intptr_t>::value, "crt_poll");
static_assert(CRT_PENDING < CRT_UNWIND && CRT_UNWIND < CRT__ERROR_LAST, "sentinels");
static_assert(CRT_MS(1500) == CRT_US(1500000) && CRT_SEC(1) == CRT_NS(1000000000), "durations");

static int cleaned, wrong;
static void check(bool ok, int line)
{
    if (ok) return;
    wrong++;
    std::fprintf(stderr, "cpp_compile.cc:%d: not as it should be\n", line);
}
#define CHECK(c) check((c), __LINE__)

namespace app {   // coroutines may live in a namespace
struct nap {
    crt_frame co;
    int ms;
    int result;
};
static crt_poll nap_run(void *frame, crt_cx *cx)
{
    nap *self = static_cast<nap *>(frame);
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(self->ms)));
    if (self->result < 0) CRT_PANIC(cx, "result %d", self->result);
    CRT_RETURN(self->result);
    CRT_FINALLY
        CRT_YIELD();
        cleaned++;
    CRT_END;
}
}   // namespace app

// A member function may be a coroutine, and so may one without a cleanup.
class counter {
public:
    crt_frame co;
    long n;
    static crt_poll run(void *frame, crt_cx *cx) { return static_cast<counter *>(frame)->step(cx); }

private:
    crt_poll step(crt_cx *cx)
    {
        CRT_BEGIN(this, cx);
        for (n = 0; n < 3; n++) {
            if (n == 1) CRT_YIELD();
            else CRT_AWAIT(crt_consume_budget(cx));
        }
        CRT_RETURN(n);
        CRT_END;
    }
};

static crt_poll by_hand(void *frame, crt_cx *cx)
{
    int *left = static_cast<int *>(frame);
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    if ((*left)-- <= 0) return 5;
    crt_waker w = crt_waker_clone(cx);
    CHECK(crt_waker_will_wake(&w, cx));
    crt_wake_by_ref(&w);
    crt_waker_drop(&w);
    return CRT_PENDING;
}
static intptr_t on_the_pool(void *arg) { return *static_cast<int *>(arg) + 1; }

struct root {
    crt_frame co;
    app::nap a, b;
    counter c;
    int hand, i;
    long l;
    long long ll;
    crt_poll r;
    crt_join_handle *join;
    intptr_t result;
    CRT_SELECT(3) sel;
    CRT_SELECT(2) inner;
    crt_timer timer, timer2;
    crt_notify notify;
    crt_semaphore semaphore;
    crt_mutex mutex;
    crt_interval interval;
    crt_cancel_token *token;
    crt_once_cell once;
    crt_until until;
    crt_scope scope;
    crt_join_set tasks;
    crt_join_map map;
    crt_task_tracker *tracker;
    crt_local_scope local;
    crt_abort_handle *abort;
    uint64_t key;
    crt_oneshot_tx *tx;
    crt_oneshot_rx *rx;
    crt_listener *listener;
    crt_stream *client, *server;
    crt_addr addr;
    char text[64];
    crt_local_set set;
};
static CRT_TASK_STORAGE(app::nap) storage;

static crt_task_local a_key = {"a"};
static crt_poll root_run(void *frame, crt_cx *cx)
{
    root *self = static_cast<root *>(frame);
    CRT_BEGIN(self, cx);
    self->a.ms = 1;
    self->a.result = 7;
    CRT_AWAIT(self->i = static_cast<int>(app::nap_run(&self->a, cx)));
    CHECK(self->i == 7 && cleaned == 1);
    CRT_AWAIT(self->l = counter::run(&self->c, cx));
    CHECK(self->l == 3);
    self->hand = 3;
    CRT_AWAIT(self->ll = by_hand(&self->hand, cx));
    CHECK(self->ll == 5);
    // spawn in every way
    CHECK(crt_spawn(cx, app::nap_run, &self->a) == 0);
    CHECK(crt_spawn_join(cx, &self->join, app::nap_run, &self->a) == 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK(self->r == 0 && self->result == 7);
    CHECK(crt_spawn_in(cx, &storage, &self->join, app::nap_run, &self->a) == 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK(self->r == 0 && self->result == 7);
    {
        crt_task_desc d = crt_task_desc();
        d.fn = app::nap_run;
        d.frame = &self->a;
        d.size = sizeof self->a;
        d.name = "named";
        d.join = &self->join;
        CHECK(crt_spawn_ex(cx, &d) == 0);
    }
    crt_abort(self->join);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, nullptr));
    CHECK(self->r == CRT_ECANCELED);
    self->b = app::nap();
    self->b.result = -3;
    CHECK(crt_local_set_spawn_join(cx, &self->set, &self->join, app::nap_run, &self->b) == 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, nullptr));
    CHECK(self->r == CRT_EPANIC && std::strstr(crt_join_panic_message(self->join), "result -3") != nullptr);
    crt_detach(&self->join);
    CRT_AWAIT(crt_local_set_join(cx, &self->set));
    CHECK(crt_spawn_blocking(cx, &self->join, on_the_pool, &self->i) == 0);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK(self->result == 8);
    {
        crt_handle *h = crt_handle_current();
        CHECK(crt_handle_spawn_join(h, &self->join, app::nap_run, &self->a) == 0);
        crt_handle_drop(&h);
    }
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CHECK(self->result == 7);
    // combinators, nested
    CRT_AWAIT(self->r = crt_select(cx, &self->sel,
        crt_on(cx, 0, crt_sleep(cx, CRT_SEC(100))),
        crt_on(cx, 1, crt_timeout(cx, &self->timer, CRT_MS(1), crt_notified(cx, &self->notify))),
        crt_on_if(cx, 2, self->hand > 1000, crt_yield_now(cx))));
    CHECK(self->r == 1);
    CRT_AWAIT(self->r = crt_select_biased(cx, &self->inner,
        crt_on(cx, 0, app::nap_run(&self->a, cx)),
        crt_on(cx, 1, crt_sleep(cx, CRT_SEC(100)))));
    CHECK(self->r == 0);
    CRT_AWAIT(self->r = crt_join_all(cx, &self->sel,
        crt_on(cx, 0, crt_yield_now(cx)),
        crt_on(cx, 1, crt_unconstrained(cx, crt_sleep(cx, CRT_MS(1)))),
        crt_on(cx, 2, crt_try_join(cx, &self->inner,
            crt_on(cx, 0, crt_yield_now(cx)),
            crt_on(cx, 1, crt_yield_now(cx))))));
    CHECK(self->r == 0);
    CRT_AWAIT(self->r = crt_timeout_at(cx, &self->timer2, crt_now(cx) + CRT_MS(1), crt_sleep(cx, CRT_SEC(9))));
    CHECK(self->r == CRT_ETIMEDOUT);
    crt_timer_reset(cx, &self->timer, CRT_MS(1));
    CRT_AWAIT(crt_timer_wait(cx, &self->timer));
    crt_interval_init(&self->interval, CRT_MS(1), CRT_SKIP);
    CRT_AWAIT(crt_interval_tick(cx, &self->interval));
    // sync
    crt_semaphore_init(&self->semaphore, 1);
    CRT_AWAIT(crt_semaphore_acquire(cx, &self->semaphore, 1));
    crt_semaphore_release(&self->semaphore, 1);
    CRT_AWAIT(crt_mutex_lock(cx, &self->mutex));
    crt_mutex_unlock(&self->mutex);
    CHECK(crt_oneshot_new(sizeof(int), &self->tx, &self->rx) == 0);
    CHECK(crt_oneshot_send(&self->tx, &self->i) == 0);
    CRT_AWAIT(crt_oneshot_recv(cx, &self->rx, &self->hand));
    CHECK(self->hand == 7);
    self->token = crt_cancel_token_new();
    crt_cancel_token_cancel(self->token);
    CRT_AWAIT(crt_cancelled(cx, self->token));
    crt_cancel_token_drop(&self->token);
    // groups
    CRT_AWAIT(self->r = crt_once_cell_init(cx, &self->once, crt_yield_now(cx)));
    CHECK(self->r == 0 && crt_once_cell_is_set(&self->once));
    self->token = crt_cancel_token_new();
    CRT_AWAIT(self->r = crt_run_until_cancelled(cx, &self->until, self->token, app::nap_run(&self->a, cx)));
    CHECK(self->r == 7);
    crt_cancel_token_drop_guard(&self->token);
    CRT_AWAIT(self->r = crt_scope_run(cx, &self->scope, crt_scope_spawn(cx, &self->scope, app::nap_run, &self->a)));
    CHECK(self->r == 0);
    CRT_AWAIT(self->r = crt_scope_try_run(cx, &self->scope, app::nap_run(&self->a, cx)));
    CHECK(self->r == 7);
    CHECK(crt_join_set_spawn(cx, &self->tasks, app::nap_run, &self->a) == 0);
    CHECK(crt_join_set_spawn_abort(cx, &self->tasks, &self->abort, app::nap_run, &self->a) == 0);
    crt_abort_handle_drop(&self->abort);
    CRT_AWAIT(self->r = crt_join_set_next(cx, &self->tasks, &self->result));
    CHECK(self->r == 0 && self->result == 7);
    CRT_AWAIT(self->r = crt_join_set_shutdown(cx, &self->tasks));
    crt_join_set_drop(&self->tasks);
    CHECK(crt_join_map_spawn(cx, &self->map, 5, app::nap_run, &self->a) == 0);
    CRT_AWAIT(self->r = crt_join_map_next(cx, &self->map, &self->key, &self->result));
    CHECK(self->r == 0 && self->key == 5);
    crt_join_map_drop(&self->map);
    self->tracker = crt_task_tracker_new();
    CHECK(crt_task_tracker_spawn(cx, self->tracker, app::nap_run, &self->a) == 0);
    crt_task_tracker_close(self->tracker);
    CRT_AWAIT(crt_task_tracker_wait(cx, self->tracker));
    crt_task_tracker_drop(&self->tracker);
    CRT_AWAIT(self->r = crt_with_local(cx, &self->local, &a_key, &self->i, app::nap_run(&self->a, cx)));
    CHECK(self->r == 7);
    // sockets; the generic names
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", nullptr, &self->listener));
    CHECK(self->r == 0 && crt_local_addr(self->listener, &self->addr) == 0);
    CHECK(crt_addr_format(&self->addr, self->text, sizeof self->text) > 0);
    CRT_AWAIT(self->r = crt_tcp_connect(cx, self->text, &self->client));
    CRT_AWAIT(self->r = crt_accept(cx, self->listener, &self->server, &self->addr));
    CHECK(crt_local_addr(self->client, &self->addr) == 0);
    CRT_AWAIT(self->r = crt_write_all(cx, self->client, "hello", 5));
    CHECK(self->r == 5);
    CRT_AWAIT(self->r = crt_read_exact(cx, self->server, self->text, 5));
    CHECK(self->r == 5 && std::memcmp(self->text, "hello", 5) == 0);
    CRT_RETURN(wrong != 0);
    CRT_FINALLY
        crt_close(&self->client);
        crt_close(&self->server);
        crt_close(&self->listener);
        CHECK(self->client == nullptr && self->listener == nullptr);
    CRT_END;
}

CRT_MAIN(root_run, root)
