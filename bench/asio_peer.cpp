// The Boost.Asio side of bench/: the same work, with the same counts, as bench_core.c, as far as Asio has a natural
// counterpart for it. rt=ct is an io_context told that it has one thread, which then takes no lock; mt2 is one that
// two threads run.
//
//   c++ -O2 -o asio_peer asio_peer.cpp -pthread
#include "meter.h"

#include <atomic>
#include <boost/asio.hpp>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

static int thread_count;
static asio::io_context *io;
static size_t n;
static std::atomic<size_t> left;

static void make_context()
{
    const char *rt = opt_text("rt", "mt2");
    thread_count = !strcmp(rt, "mt2") ? 2 : !strcmp(rt, "mt1") || !strcmp(rt, "ct") ? 1 : 0;
    if (!thread_count) die("rt=%s: expected mt2, mt1 or ct", rt);
    io = new asio::io_context(!strcmp(rt, "ct") ? 1 : 2);
}

// Runs what has been posted, and what that posts, until there is no more.
static void run_context()
{
    std::vector<std::thread> others;
    for (int i = 1; i < thread_count; i++) others.emplace_back([] { io->run(); });
    io->run();
    for (auto &t : others) t.join();
    io->restart();
}

static void report_n(const char *name, const char *params) { report(name, params, n, ""); }

// ----------------------------------------------------------------------------------------- scheduler

static void count_one() { left.fetch_sub(1, std::memory_order_acq_rel); }

// A handler that is posted is the nearest thing to a detached task.
static void spawn_many_local(const char *name)
{
    n = opt_num("n", 10000);
    measure([](void *) {
        asio::post(*io, [] {
            left = n;
            for (size_t i = 0; i < n; i++) asio::post(*io, count_one);
        });
        meter_start();
        run_context();
        meter_stop();
    }, nullptr);
    report_n(name, text("n=%zu", n));
}

struct yielder {   // a handler that posts itself again
    size_t turns;
    void operator()()
    {
        if (turns-- > 0) asio::post(*io, *this);
    }
};

static void yields(const char *name, size_t tasks, size_t turns, const char *params)
{
    static size_t task_count, turn_count;
    task_count = tasks, turn_count = turns, n = tasks * turns;
    measure([](void *) {
        for (size_t i = 0; i < task_count; i++) asio::post(*io, yielder{turn_count});
        meter_start();
        run_context();
        meter_stop();
    }, nullptr);
    report_n(name, params);
}

static void yield_many(const char *name)
{
    size_t tasks = opt_num("tasks", 200), turns = opt_num("n", 1000);
    yields(name, tasks, turns, text("%zux%zu", tasks, turns));
}

static void yield_one(const char *name)
{
    size_t turns = opt_num("n", 100000);
    if (opt_num("io", 0)) exit(NO_COUNTERPART);
    yields(name, 1, turns, text("n=%zu,io=0", turns));
}

// Two handlers that post each other.
static void ping();
static void pong() { if (left.fetch_sub(1) > 1) asio::post(*io, ping); }
static void ping() { asio::post(*io, pong); }

static void notify_pingpong(const char *name)
{
    n = opt_num("n", 50000);
    measure([](void *) {
        left = n;
        asio::post(*io, ping);
        meter_start();
        run_context();
        meter_stop();
    }, nullptr);
    report_n(name, text("n=%zu", n));
}

// ---------------------------------------------------------------------------------------------- time

static std::chrono::milliseconds ms(uint64_t t) { return std::chrono::milliseconds(t); }

static void timer_cancel(const char *name)
{
    size_t live = opt_num("live", 0), tick = opt_num("tick", 0);
    uint64_t rng = SEED;
    if (tick || thread_count > 1) exit(NO_COUNTERPART);   // run() would not come back; one loop sets all the timers
    n = opt_num("n", 200000);
    std::vector<std::unique_ptr<asio::steady_timer>> others;
    for (size_t i = 0; i < live; i++) {
        others.push_back(std::make_unique<asio::steady_timer>(*io, ms(60000 + rng_next(&rng) % 600000)));
        others.back()->async_wait([](error_code) {});
    }
    measure([](void *) {
        uint64_t random = SEED;
        asio::steady_timer t(*io);
        meter_start();
        for (size_t i = 1; i <= n; i++) {
            t.expires_after(ms(1000 + (rng_next(&random) & 0x3fff)));
            t.async_wait([](error_code) {});
            t.cancel();
            if (i % 100 == 0) io->poll();   // the handlers of what was cancelled
        }
        meter_stop();
        io->restart();
    }, nullptr);
    report_n(name, text("n=%zu,live=%zu,tick=%zu", n, live, tick));
    _exit(0);
}

static void sleep_fixed(const char *name)
{
    n = opt_num("n", 10000);
    measure([](void *) {
        std::vector<asio::steady_timer> timers;
        timers.reserve(n);
        meter_start();
        for (size_t i = 0; i < n; i++) {
            timers.emplace_back(*io, ms(opt_num("ms", 1)));
            timers.back().async_wait([](error_code) {});
        }
        run_context();
        meter_stop();
    }, nullptr);
    report_n(name, text("n=%zu,ms=%zu", n, opt_num("ms", 1)));
}

// ------------------------------------------------------------------------------------- blocking pool

// A job for the pool, whose end is posted to the loop. The pool has four threads, as libuv's.
static asio::thread_pool *pool;
static asio::executor_work_guard<asio::io_context::executor_type> *work;

static void job_done() { if (left.fetch_sub(1) == 1) work->reset(); }

static void spawn_blocking_once(void *)
{
    asio::executor_work_guard<asio::io_context::executor_type> guard(io->get_executor());
    work = &guard;
    left = n;
    meter_start();
    for (size_t i = 0; i < n; i++) asio::post(*pool, [] { asio::post(*io, job_done); });
    run_context();
    meter_stop();
}

static void spawn_blocking(const char *name)
{
    n = opt_num("n", 10000);
    pool = new asio::thread_pool(4);
    measure(spawn_blocking_once, nullptr);
    report_n(name, text("n=%zu,cap=%zu", n, opt_num("cap", 512)));
    _exit(0);
}

static void next_job()
{
    if (left.fetch_sub(1) == 1) return work->reset();
    asio::post(*pool, [] { asio::post(*io, next_job); });
}

static void spawn_blocking_seq(const char *name)
{
    n = opt_num("n", 2000);
    pool = new asio::thread_pool(4);
    measure([](void *) {
        asio::executor_work_guard<asio::io_context::executor_type> guard(io->get_executor());
        work = &guard;
        left = n;
        meter_start();
        asio::post(*pool, [] { asio::post(*io, next_job); });
        run_context();
        meter_stop();
    }, nullptr);
    report_n(name, text("n=%zu", n));
    _exit(0);
}

// ----------------------------------------------------------------------------------------------- net

struct session : std::enable_shared_from_this<session> {
    tcp::socket peer;
    char buf[4096];
    explicit session(tcp::socket s) : peer(std::move(s)) {}
    void read()
    {
        auto self = shared_from_this();
        peer.async_read_some(asio::buffer(buf), [this, self](error_code e, size_t got) { if (!e) write(got); });
    }
    void write(size_t size)
    {
        auto self = shared_from_this();
        asio::async_write(peer, asio::buffer(buf, size), [this, self](error_code e, size_t) { if (!e) read(); });
    }
};

static void accept_next(tcp::acceptor &a)
{
    a.async_accept([&a](error_code e, tcp::socket s) {
        if (!e) {
            s.set_option(tcp::no_delay(true), e);
            std::make_shared<session>(std::move(s))->read();
        }
        accept_next(a);
    });
}

static void serve_echo(const char *)
{
    if (opt_num("spin", 0) || opt_num("lean", 0)) exit(NO_COUNTERPART);
    prepare_to_serve();
    tcp::acceptor a(*io);
    a.open(tcp::v4());
    a.set_option(tcp::acceptor::reuse_address(true));
    a.bind({asio::ip::address_v4::loopback(), (unsigned short)opt_num("port", 0)});
    a.listen(4096);
    say_listening(text("127.0.0.1:%d", a.local_endpoint().port()));
    accept_next(a);
    run_context();
}

// ---------------------------------------------------------------------------------------------- main

static const struct {
    const char *name;
    void (*run)(const char *name);
} workloads[] = {
    {"spawn_many_local", spawn_many_local}, {"yield_many", yield_many},
    {"yield_one", yield_one},               {"notify_pingpong", notify_pingpong},
    {"timer_cancel", timer_cancel},         {"sleep_fixed", sleep_fixed},
    {"spawn_blocking", spawn_blocking},     {"spawn_blocking_seq", spawn_blocking_seq},
    {"serve_echo", serve_echo},
};

int main(int argc, char **argv)
{
    const char *name = take_args(argc, argv);
    make_context();
    for (auto &w : workloads)
        if (!strcmp(w.name, name)) {
            w.run(name);
            return 0;
        }
    return NO_COUNTERPART;
}
