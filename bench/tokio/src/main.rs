// The Tokio side of bench/: the same work, with the same counts, as ../bench_core.c.
//
//   tokio-bench <workload> [rt=mt2|mt1|ct] [n=N] [secs=S] [miniter=I] [warm=W] ...
//
// Each workload is run `warm` times unmeasured, then until `secs` seconds and `miniter` iterations
// have passed. One line is printed (ns are nanoseconds per operation, over the iterations):
//
//   workload params ops seconds ns_per_op min p10 p90 max cpu_ns_per_op nvcsw_per_op iters extra
//
// Only the hot part of an iteration is timed. seconds and ns_per_op are medians; cpu_ns is the CPU time
// of all threads of the process; nvcsw the voluntary context switches, that is, how often a thread slept.
// "mt2" is the multi-thread runtime with two workers, "mt1" with one, "ct" the current-thread runtime.
use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{broadcast, mpsc, oneshot, watch, Mutex, Notify, RwLock, Semaphore};
use tokio::task::{spawn_blocking, unconstrained, yield_now, JoinHandle};
use tokio::time::{sleep, timeout};

// ------------------------------------------------------------------------------------------- options

struct Opt {
    name: String,
    map: HashMap<String, String>,
}

impl Opt {
    fn parse() -> Opt {
        let mut args = std::env::args().skip(1);
        let name = args.next().unwrap_or_else(|| die("usage: tokio-bench <workload> [key=value]..."));
        let pair = |s: String| match s.split_once('=') {
            Some((k, v)) => (k.to_string(), v.to_string()),
            None => die(format!("{s}: expected key=value")),
        };
        Opt { name, map: args.map(pair).collect() }
    }
    fn text(&self, key: &str, default: &str) -> String {
        self.map.get(key).map_or(default, |v| v).to_string()
    }
    fn num(&self, key: &str, default: usize) -> usize {
        self.map.get(key).map_or(default, |v| v.parse().unwrap_or_else(|_| die(format!("{key}={v}: not a number"))))
    }
    fn secs(&self) -> f64 {
        self.text("secs", "1").parse().unwrap_or_else(|_| die("secs: not a number"))
    }
    fn builder(&self) -> Builder {
        let mut b = match &*self.text("rt", "mt2") {
            "ct" => Builder::new_current_thread(),
            rt @ ("mt1" | "mt2") => {
                let mut b = Builder::new_multi_thread();
                b.worker_threads(if rt == "mt1" { 1 } else { 2 });
                b
            }
            rt => die(format!("rt={rt}: expected mt2, mt1 or ct")),
        };
        b.enable_all();
        b
    }
    fn runtime(&self) -> Runtime {
        self.builder().build().unwrap()
    }
}

fn die<T>(why: impl Display) -> T {
    eprintln!("tokio-bench: {why}");
    std::process::exit(2)
}

// ------------------------------------------------------------------------------------------ metering

fn usage() -> libc::rusage {
    let mut r = unsafe { std::mem::zeroed() };
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut r) };
    r
}

fn cpu_now() -> f64 {
    let mut t = unsafe { std::mem::zeroed::<libc::timespec>() };
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

// A line of /proc/self/status in bytes: "VmRSS:" is what is resident, "RssAnon:" what of it is memory of the
// program's own, not pages of its file.
fn status_bytes(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

#[derive(Clone, Copy)]
struct Sample {
    wall: f64,
    cpu: f64,
    switches: f64,
}

struct Meter {
    wall: Instant,
    cpu: f64,
    switches: i64,
}

impl Meter {
    fn start() -> Meter {
        let switches = usage().ru_nvcsw;
        let cpu = cpu_now();
        Meter { wall: Instant::now(), cpu, switches }
    }
    fn stop(self) -> Sample {
        let wall = self.wall.elapsed().as_secs_f64();
        let cpu = cpu_now() - self.cpu;
        Sample { wall, cpu, switches: (usage().ru_nvcsw - self.switches) as f64 }
    }
}

fn quantile(sorted: &[f64], p: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * p).round() as usize]
}

fn print(o: &Opt, params: impl Display, ops: usize, samples: &[Sample], extra: impl Display) {
    let column = |f: fn(&Sample) -> f64| {
        let mut v: Vec<f64> = samples.iter().map(f).collect();
        v.sort_by(f64::total_cmp);
        v
    };
    let (wall, cpu, switches) = (column(|s| s.wall), column(|s| s.cpu), column(|s| s.switches));
    let ns = |v: &[f64], p| quantile(v, p) * 1e9 / ops as f64;
    println!(
        "{} {},{} {} {:.6} {:.1} {:.1} {:.1} {:.1} {:.1} {:.1} {:.4} {} {}",
        o.name, o.text("rt", "mt2"), params, ops, quantile(&wall, 0.5), ns(&wall, 0.5), ns(&wall, 0.0),
        ns(&wall, 0.1), ns(&wall, 0.9), ns(&wall, 1.0), ns(&cpu, 0.5), quantile(&switches, 0.5) / ops as f64,
        samples.len(), extra
    );
}

fn measure(o: &Opt, mut iteration: impl FnMut() -> Sample) -> Vec<Sample> {
    for _ in 0..o.num("warm", 2) {
        iteration();
    }
    let (secs, least, most) = (o.secs(), o.num("miniter", 5), o.num("maxiter", 5000));
    let (mut samples, start) = (vec![], Instant::now());
    while (start.elapsed().as_secs_f64() < secs || samples.len() < least) && samples.len() < most {
        samples.push(iteration());
    }
    samples
}

// Runs the future as a spawned task: it then lives on a worker, as a server's code does, and not on the
// thread of block_on.
fn in_task<T: Send + 'static>(rt: &Runtime, f: impl Future<Output = T> + Send + 'static) -> T {
    rt.block_on(async { tokio::spawn(f).await.unwrap() })
}

fn bench<F: Future<Output = Sample> + Send + 'static>(
    o: &Opt, rt: &Runtime, params: impl Display, ops: usize, mut body: impl FnMut() -> F,
) {
    let samples = measure(o, || in_task(rt, body()));
    print(o, params, ops, &samples, "");
}

// ------------------------------------------------------------------------------------- shared parts

// Detached tasks count down; the last one wakes the task that waits. Leaked, one for each iteration: the
// C side has static memory, so that no reference count is measured here either.
struct Countdown {
    left: AtomicUsize,
    zero: Notify,
}

impl Countdown {
    fn new(n: usize) -> &'static Countdown {
        Box::leak(Box::new(Countdown { left: AtomicUsize::new(n), zero: Notify::new() }))
    }
    fn one(&self) {
        if self.left.fetch_sub(1, AcqRel) == 1 {
            self.zero.notify_one();
        }
    }
    async fn wait(&self) {
        self.zero.notified().await
    }
}

// xorshift64: the same sequence as in the C program
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

async fn nothing() {}

// Static memory, as on the C side, so that sharing it counts no references.
fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

// Polls a future once and drops it.
struct PollOnce<F>(F);

impl<F: Future> Future for PollOnce<F> {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Sound: the field is never moved out, and PollOnce has no Drop of its own.
        let inner = unsafe { self.map_unchecked_mut(|s| &mut s.0) };
        let _ = inner.poll(cx);
        Poll::Ready(())
    }
}

// ----------------------------------------------------------------------------------------- scheduler

fn spawn_many_local(o: &Opt) {
    let n = o.num("n", 10_000);
    bench(o, &o.runtime(), format!("n={n}"), n, || async move {
        let m = Meter::start();
        let done = Countdown::new(n);
        for _ in 0..n {
            tokio::spawn(async move { done.one() });
        }
        done.wait().await;
        m.stop()
    });
}

fn spawn_join_local(o: &Opt) {
    let n = o.num("n", 10_000);
    bench(o, &o.runtime(), format!("n={n}"), n, || async move {
        let mut joins = Vec::with_capacity(n);
        let m = Meter::start();
        for _ in 0..n {
            joins.push(tokio::spawn(nothing()));
        }
        for j in joins.drain(..) {
            j.await.unwrap();
        }
        m.stop()
    });
}

// From a plain thread into a runtime that sleeps.
fn spawn_many_remote_idle(o: &Opt) {
    let (rt, n) = (o.runtime(), o.num("n", 10_000));
    let mut joins: Vec<JoinHandle<()>> = Vec::with_capacity(n);
    let samples = measure(o, || {
        let m = Meter::start();
        for _ in 0..n {
            joins.push(rt.spawn(nothing()));
        }
        rt.block_on(async {
            for j in joins.drain(..) {
                j.await.unwrap();
            }
        });
        m.stop()
    });
    print(o, format!("n={n}"), n, &samples, "");
}

fn chained_spawn(o: &Opt) {
    fn link(done: &'static Countdown, n: usize) {
        if n == 0 {
            done.one()
        } else {
            tokio::spawn(async move { link(done, n - 1) });
        }
    }
    let n = o.num("n", 1000);
    bench(o, &o.runtime(), format!("depth={n}"), n, || async move {
        let m = Meter::start();
        let done = Countdown::new(1);
        tokio::spawn(async move { link(done, n) });
        done.wait().await;
        m.stop()
    });
}

fn yield_many(o: &Opt) {
    let (tasks, n) = (o.num("tasks", 200), o.num("n", 1000));
    bench(o, &o.runtime(), format!("{tasks}x{n}"), tasks * n, || async move {
        let m = Meter::start();
        let done = Countdown::new(tasks);
        for _ in 0..tasks {
            tokio::spawn(async move {
                for _ in 0..n {
                    yield_now().await;
                }
                done.one();
            });
        }
        done.wait().await;
        m.stop()
    });
}

// io=1: a socket is open, so that there is something to ask the kernel about.
fn yield_one(o: &Opt) {
    let (rt, n, io) = (o.runtime(), o.num("n", 100_000), o.num("io", 0));
    let _listener = (io > 0).then(|| in_task(&rt, async { listen(0) }));
    bench(o, &rt, format!("n={n},io={io}"), n, || async move {
        let m = Meter::start();
        for _ in 0..n {
            yield_now().await;
        }
        m.stop()
    });
}

// Pairs of tasks exchange one message each way over two oneshots.
fn ping_pong(o: &Opt) {
    let n = o.num("n", 1000);
    bench(o, &o.runtime(), format!("pairs={n}"), n, || async move {
        let m = Meter::start();
        let done = Countdown::new(n);
        for _ in 0..n {
            tokio::spawn(async move {
                let (tx1, rx1) = oneshot::channel();
                let (tx2, rx2) = oneshot::channel();
                tokio::spawn(async move {
                    rx1.await.unwrap();
                    tx2.send(()).unwrap();
                });
                tx1.send(()).unwrap();
                rx2.await.unwrap();
                done.one();
            });
        }
        done.wait().await;
        m.stop()
    });
}

fn fib(o: &Opt) {
    fn node(n: usize) -> JoinHandle<usize> {
        tokio::spawn(async move {
            if n < 2 {
                return n;
            }
            let (a, b) = (node(n - 1), node(n - 2));
            a.await.unwrap() + b.await.unwrap()
        })
    }
    fn tasks(n: usize) -> usize {
        if n < 2 { 1 } else { 1 + tasks(n - 1) + tasks(n - 2) }
    }
    let (rt, n) = (o.runtime(), o.num("n", 25));
    let samples = measure(o, || {
        in_task(&rt, async move {
            let m = Meter::start();
            black_box(node(n).await.unwrap());
            m.stop()
        })
    });
    print(o, format!("n={n}"), tasks(n), &samples, format!("peak_rss={}KiB", usage().ru_maxrss));
}

// A tree of tasks with ten children each; the leaves are summed.
fn skynet(o: &Opt) {
    fn node(first: usize, leaves: usize) -> JoinHandle<usize> {
        tokio::spawn(async move {
            if leaves == 1 {
                return first;
            }
            let part = leaves / 10;
            let children: [_; 10] = std::array::from_fn(|i| node(first + i * part, part));
            let mut sum = 0;
            for c in children {
                sum += c.await.unwrap();
            }
            sum
        })
    }
    let (rt, n) = (o.runtime(), o.num("n", 1_000_000)); // a power of ten
    let samples = measure(o, || {
        in_task(&rt, async move {
            let m = Meter::start();
            assert_eq!(node(0, n).await.unwrap(), n * (n - 1) / 2);
            m.stop()
        })
    });
    print(o, format!("leaves={n}"), (n * 10 - 1) / 9, &samples, format!("peak_rss={}KiB", usage().ru_maxrss));
}

// Resident bytes for each parked task.
fn mem(o: &Opt) {
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    fn started() {
        STARTED.fetch_add(1, Relaxed);
    }
    let (rt, n, kind) = (o.runtime(), o.num("n", 1_000_000), o.text("kind", "notify"));
    let params = format!("kind={kind},n={n}");
    let never: &'static Notify = Box::leak(Box::default());
    let before = status_bytes("VmRSS:");
    let sample = in_task(&rt, async move {
        let m = Meter::start();
        for _ in 0..n {
            match &*kind {
                "pending" => tokio::spawn(async { started(); std::future::pending().await }),
                "notify" => tokio::spawn(async move { started(); never.notified().await }),
                "sleep" => tokio::spawn(async { started(); sleep(Duration::from_secs(3600)).await }),
                _ => die(format!("kind={kind}: expected pending, notify or sleep")),
            };
        }
        while STARTED.load(Relaxed) < n {
            yield_now().await;
        }
        m.stop()
    });
    let per_task = (status_bytes("VmRSS:") - before) / n as f64;
    print(o, params, n, &[sample], format!("rss_bytes_per_task={per_task:.1} peak_rss={}KiB", usage().ru_maxrss));
    std::process::exit(0); // taking a million parked tasks down is not part of the measurement
}

// ---------------------------------------------------------------------------------------------- time

fn live_timers(rt: &Runtime, live: usize, tick: usize) {
    if tick > 0 {
        rt.spawn(async move { loop { sleep(ms(tick as u64)).await } });
    }
    if live > 0 {
        in_task(rt, async move {
            let mut rng = Rng(SEED);
            for _ in 0..live {
                tokio::spawn(sleep(ms(60_000 + rng.next() % 600_000)));
            }
            sleep(ms(200)).await; // all of them have been polled
        });
    }
}

// A timer that is set and taken down unfired: what every request with a deadline does. `live` timers
// lie in the wheel meanwhile; `tick` is the period of one more timer that keeps firing, which decides
// whether a new timer is the earliest (and so has to wake the driver) or not.
fn timer_cancel(o: &Opt) {
    let (rt, n, live, tick) = (o.runtime(), o.num("n", 200_000), o.num("live", 0), o.num("tick", 0));
    live_timers(&rt, live, tick);
    let batch = 100; // yields in between, so that the driver gets its turns as in a real program
    bench(o, &rt, format!("n={n},live={live},tick={tick}"), n, || async move {
        let mut rng = Rng(SEED);
        let m = Meter::start();
        for _ in 0..n / batch {
            // unconstrained: the cooperative budget would otherwise stop polls from registering at all
            unconstrained(async {
                for _ in 0..batch {
                    PollOnce(sleep(ms(1000 + (rng.next() & 0x3fff)))).await;
                }
            }).await;
            yield_now().await;
        }
        m.stop()
    });
    std::process::exit(0);
}

// The inner future is ready at once: the timer is never registered.
fn timeout_ready(o: &Opt) {
    let (n, tasks) = (o.num("n", 200_000), o.num("tasks", 2));
    bench(o, &o.runtime(), format!("n={n},tasks={tasks}"), n, || async move {
        let m = Meter::start();
        let done = Countdown::new(tasks);
        for _ in 0..tasks {
            tokio::spawn(async move {
                for _ in 0..n / tasks {
                    assert_eq!(black_box(timeout(ms(1000), async { 1 }).await.unwrap()), 1);
                }
                done.one();
            });
        }
        done.wait().await;
        m.stop()
    });
}

// The inner future is ready at its second poll: the timer is registered, lies there for a turn of the scheduler, and
// is taken down.
fn timeout_yield(o: &Opt) {
    let (rt, n, tasks, live, tick) =
        (o.runtime(), o.num("n", 200_000), o.num("tasks", 2), o.num("live", 0), o.num("tick", 0));
    live_timers(&rt, live, tick);
    bench(o, &rt, format!("n={n},tasks={tasks},live={live},tick={tick}"), n, || async move {
        let m = Meter::start();
        let done = Countdown::new(tasks);
        for _ in 0..tasks {
            tokio::spawn(async move {
                for _ in 0..n / tasks {
                    timeout(ms(1000), yield_now()).await.unwrap();
                }
                done.one();
            });
        }
        done.wait().await;
        m.stop()
    });
    std::process::exit(0);
}

fn sleep_fixed(o: &Opt) {
    let (n, each) = (o.num("n", 10_000), o.num("ms", 1));
    bench(o, &o.runtime(), format!("n={n},ms={each}"), n, || async move {
        let mut joins = Vec::with_capacity(n);
        let m = Meter::start();
        for _ in 0..n {
            joins.push(tokio::spawn(sleep(ms(each as u64))));
        }
        for j in joins.drain(..) {
            j.await.unwrap();
        }
        m.stop()
    });
}

// n tasks sleep between 1 and `ms` milliseconds. late=1 also measures how late each of them woke.
fn sleep_rand(o: &Opt) {
    let (rt, n, most, late) = (o.runtime(), o.num("n", 1_000_000), o.num("ms", 1000), o.num("late", 0));
    // of the last iteration, in us; one for each task
    let lateness: &'static [AtomicU32] = (0..n * late.min(1)).map(|_| AtomicU32::new(0)).collect::<Vec<_>>().leak();
    let before = status_bytes("VmRSS:");
    let samples = measure(o, || {
        in_task(&rt, async move {
            let m = Meter::start();
            let done = Countdown::new(n);
            let mut rng = Rng(SEED);
            for i in 0..n {
                let d = ms(1 + rng.next() % most as u64);
                if late == 0 {
                    tokio::spawn(async move {
                        sleep(d).await;
                        done.one();
                    });
                } else {
                    tokio::spawn(async move {
                        let due = Instant::now() + d;
                        sleep(d).await;
                        lateness[i].store(due.elapsed().as_micros() as u32, Relaxed);
                        done.one();
                    });
                }
            }
            done.wait().await;
            m.stop()
        })
    });
    let peak = usage().ru_maxrss as f64 * 1024.0;
    let mut extra = format!("peak_rss={:.0}KiB bytes_per_task={:.0}", peak / 1024.0, (peak - before) / n as f64);
    if late > 0 {
        let mut v: Vec<f64> = lateness.iter().map(|us| us.load(Relaxed) as f64).collect();
        v.sort_by(f64::total_cmp);
        let q = |p| quantile(&v, p);
        extra += &format!(" late_us:p50={} p99={} p999={} max={}", q(0.5), q(0.99), q(0.999), q(1.0));
    }
    print(o, format!("n={n},ms={most},late={late}"), n, &samples, extra);
}

// ------------------------------------------------------------------------------------- blocking pool

fn spawn_blocking_all(o: &Opt) {
    let (n, cap) = (o.num("n", 10_000), o.num("cap", 512));
    let rt = o.builder().max_blocking_threads(cap).build().unwrap();
    bench(o, &rt, format!("n={n},cap={cap}"), n, || async move {
        let mut joins = Vec::with_capacity(n);
        let m = Meter::start();
        for _ in 0..n {
            joins.push(spawn_blocking(|| black_box(0)));
        }
        for j in joins.drain(..) {
            j.await.unwrap();
        }
        m.stop()
    });
}

fn spawn_blocking_seq(o: &Opt) {
    let n = o.num("n", 2_000);
    bench(o, &o.runtime(), format!("n={n}"), n, || async move {
        let m = Meter::start();
        for _ in 0..n {
            spawn_blocking(|| black_box(0)).await.unwrap();
        }
        m.stop()
    });
}

// -------------------------------------------------------------------------------- channels and locks

fn oneshot_ready(o: &Opt) {
    let n = o.num("n", 100_000);
    bench(o, &o.runtime(), format!("n={n}"), n, || async move {
        let m = Meter::start();
        for i in 0..n {
            let (tx, rx) = oneshot::channel::<usize>();
            tx.send(i).unwrap();
            black_box(rx.await.unwrap());
        }
        m.stop()
    });
}

// A client sends a oneshot through an mpsc of 10 and waits for the answer. client=main is the future of
// block_on, so each request crosses threads twice; client=task stays on the workers.
fn request_reply(o: &Opt) {
    let (rt, n, client) = (o.runtime(), o.num("n", 10_000), o.text("client", "task"));
    let (tx, mut rx) = mpsc::channel::<oneshot::Sender<()>>(10);
    rt.spawn(async move {
        while let Some(reply) = rx.recv().await {
            reply.send(()).unwrap();
        }
    });
    let samples = measure(o, || {
        let tx = tx.clone();
        let requests = async move {
            let m = Meter::start();
            for _ in 0..n {
                let (reply, answer) = oneshot::channel();
                tx.send(reply).await.unwrap();
                answer.await.unwrap();
            }
            m.stop()
        };
        if client == "main" { rt.block_on(requests) } else { in_task(&rt, requests) }
    });
    print(o, format!("n={n},client={client}"), n, &samples, "");
}

fn notify_pingpong(o: &Opt) {
    let n = o.num("n", 50_000);
    bench(o, &o.runtime(), format!("n={n}"), n, || async move {
        let m = Meter::start();
        let (ping, pong) = (leak(Notify::new()), leak(Notify::new()));
        let peer = tokio::spawn(async move {
            for _ in 0..n {
                ping.notified().await;
                pong.notify_one();
            }
        });
        for _ in 0..n {
            ping.notify_one();
            pong.notified().await;
        }
        peer.await.unwrap();
        m.stop()
    });
}

// hold=1 yields inside the critical section, so that the others really queue.
fn mutex(o: &Opt) {
    let (tasks, n, hold) = (o.num("tasks", 4), o.num("n", 50_000), o.num("hold", 0));
    bench(o, &o.runtime(), format!("tasks={tasks},n={n},hold={hold}"), tasks * n, || async move {
        let m = Meter::start();
        let (count, done) = (leak(Mutex::new(0)), Countdown::new(tasks));
        for _ in 0..tasks {
            tokio::spawn(async move {
                for _ in 0..n {
                    let mut guard = count.lock().await;
                    *guard += 1;
                    if hold == 1 {
                        yield_now().await;
                    }
                }
                done.one();
            });
        }
        done.wait().await;
        assert_eq!(*count.lock().await, tasks * n);
        m.stop()
    });
}

fn semaphore(o: &Opt) {
    let (tasks, n, hold) = (o.num("tasks", 4), o.num("n", 50_000), o.num("hold", 0));
    let permits = o.num("permits", 2);
    bench(o, &o.runtime(), format!("tasks={tasks},n={n},permits={permits},hold={hold}"), tasks * n, || async move {
        let m = Meter::start();
        let (sem, done) = (leak(Semaphore::new(permits)), Countdown::new(tasks));
        for _ in 0..tasks {
            tokio::spawn(async move {
                for _ in 0..n {
                    let _permit = sem.acquire().await.unwrap();
                    if hold == 1 {
                        yield_now().await;
                    }
                }
                done.one();
            });
        }
        done.wait().await;
        m.stop()
    });
}

// The same by one task alone: what the locks cost that nobody else wants.
fn mutex_uncontended(o: &Opt) {
    let n = o.num("n", 100_000);
    bench(o, &o.runtime(), format!("n={n}"), n, || async move {
        let count = Mutex::new(0);
        let m = Meter::start();
        for _ in 0..n {
            *count.lock().await += 1;
        }
        let sample = m.stop();
        assert_eq!(count.into_inner(), n);
        sample
    });
}

fn semaphore_uncontended(o: &Opt) {
    let n = o.num("n", 100_000);
    bench(o, &o.runtime(), format!("n={n}"), n, || async move {
        let sem = Semaphore::new(2);
        let m = Meter::start();
        for _ in 0..n {
            let _permit = sem.acquire().await.unwrap();
        }
        m.stop()
    });
}

// Readers only: they share the lock, and the cache line of it.
fn rwlock_read(o: &Opt) {
    let (tasks, n) = (o.num("tasks", 4), o.num("n", 50_000));
    bench(o, &o.runtime(), format!("tasks={tasks},n={n}"), tasks * n, || async move {
        let m = Meter::start();
        let (shared, done) = (leak(RwLock::new(0)), Countdown::new(tasks));
        for _ in 0..tasks {
            tokio::spawn(async move {
                for _ in 0..n {
                    black_box(*shared.read().await);
                }
                done.one();
            });
        }
        done.wait().await;
        m.stop()
    });
}

// cap=0: unbounded
fn mpsc_stream(o: &Opt) {
    let (prod, cap, n) = (o.num("prod", 1), o.num("cap", 1024), o.num("n", 200_000));
    let each = n / prod;
    bench(o, &o.runtime(), format!("prod={prod},cap={cap},n={n}"), n, || async move {
        let m = Meter::start();
        let mut count = 0;
        if cap > 0 {
            let (tx, mut rx) = mpsc::channel::<usize>(cap);
            for _ in 0..prod {
                let tx = tx.clone();
                tokio::spawn(async move {
                    for i in 0..each {
                        tx.send(i).await.unwrap();
                    }
                });
            }
            drop(tx);
            while let Some(v) = rx.recv().await {
                black_box(v);
                count += 1;
            }
        } else {
            let (tx, mut rx) = mpsc::unbounded_channel::<usize>();
            for _ in 0..prod {
                let tx = tx.clone();
                tokio::spawn(async move {
                    for i in 0..each {
                        tx.send(i).unwrap();
                    }
                });
            }
            drop(tx);
            while let Some(v) = rx.recv().await {
                black_box(v);
                count += 1;
            }
        }
        assert_eq!(count, each * prod);
        m.stop()
    });
}

// One task fills a channel that nobody listens to yet, then empties it: neither side ever waits.
fn mpsc_uncontended(o: &Opt) {
    let (cap, n) = (o.num("cap", 5000), o.num("n", 5000));
    if cap > 0 && cap < n {
        die(format!("mpsc_uncontended: cap={cap} is less than n"))
    }
    bench(o, &o.runtime(), format!("cap={cap},n={n}"), n, || async move {
        let m = Meter::start();
        if cap > 0 {
            let (tx, mut rx) = mpsc::channel::<usize>(cap);
            for i in 0..n {
                tx.send(i).await.unwrap();
            }
            for _ in 0..n {
                black_box(rx.recv().await.unwrap());
            }
            m.stop() // the channel is taken down after it
        } else {
            let (tx, mut rx) = mpsc::unbounded_channel::<usize>();
            for i in 0..n {
                tx.send(i).unwrap();
            }
            for _ in 0..n {
                black_box(rx.recv().await.unwrap());
            }
            m.stop()
        }
    });
}

// One sender, `rx` receivers that live as long as the program. The sender goes on when all of them have
// seen the value: a value is one operation for each receiver.
fn fanout(o: &Opt, rt: &Runtime, done: &'static Countdown, send: impl Fn(usize) + Send + Sync + 'static) {
    let (receivers, n) = (o.num("rx", 10), o.num("n", 100));
    let send = &*Box::leak(Box::new(send));
    bench(o, rt, format!("rx={receivers},n={n}"), receivers * n, || async move {
        let m = Meter::start();
        for i in 0..n {
            done.left.fetch_add(receivers, Relaxed);
            send(i);
            while done.left.load(Acquire) > 0 {
                done.wait().await;
            }
        }
        m.stop()
    });
}

fn broadcast_fanout(o: &Opt) {
    let (rt, done) = (o.runtime(), Countdown::new(0));
    let (tx, _) = broadcast::channel::<usize>(1000);
    for _ in 0..o.num("rx", 10) {
        let mut rx = tx.subscribe();
        rt.spawn(async move {
            while rx.recv().await.is_ok() {
                done.one();
            }
        });
    }
    fanout(o, &rt, done, move |i| {
        tx.send(i).unwrap();
    });
}

fn watch_fanout(o: &Opt) {
    let (rt, done) = (o.runtime(), Countdown::new(0));
    let (tx, rx) = watch::channel(0usize);
    for _ in 0..o.num("rx", 10) {
        let mut rx = rx.clone();
        rt.spawn(async move {
            while rx.changed().await.is_ok() {
                black_box(*rx.borrow());
                done.one();
            }
        });
    }
    fanout(o, &rt, done, move |i| tx.send(i).unwrap());
}

// One sender floods `rx` receivers. It looks every 256 values how far they have come, and yields until
// nobody is more than 512 behind, so that nothing of the 1024 is lost.
fn broadcast_stream(o: &Opt) {
    const CAP: usize = 1024;
    let (receivers, n) = (o.num("rx", 4), o.num("n", 50_000));
    bench(o, &o.runtime(), format!("rx={receivers},n={n},cap={CAP}"), receivers * n, || async move {
        let m = Meter::start();
        let (tx, _) = broadcast::channel::<usize>(CAP);
        let done = Countdown::new(receivers);
        let progress = leak((0..receivers).map(|_| AtomicUsize::new(0)).collect::<Vec<_>>());
        for which in 0..receivers {
            let mut rx = tx.subscribe();
            tokio::spawn(async move {
                let mut seen = 0;
                loop {
                    match rx.recv().await {
                        Ok(_) => seen += 1,
                        Err(broadcast::error::RecvError::Closed) => break,
                        Err(_) => die("broadcast_stream: lost a value"),
                    }
                    if seen % 64 == 0 {
                        progress[which].store(seen, Relaxed);
                    }
                }
                assert_eq!(seen, n);
                done.one();
            });
        }
        for i in 0..n {
            tx.send(i).unwrap();
            if i % 256 == 255 {
                while progress.iter().any(|p| p.load(Relaxed) + CAP / 2 < i) {
                    yield_now().await;
                }
            }
        }
        drop(tx);
        done.wait().await;
        m.stop()
    });
}

// What an empty channel of 8-byte elements keeps from the allocator, just made and after `messages` have
// passed through and been received: the mean of `n` channels. The allocator is asked: run with alloc_count.so
// preloaded.
fn chan_bytes(o: &Opt) {
    fn live_bytes() -> f64 {
        let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, b"alloc_count_live_bytes\0".as_ptr().cast()) };
        if symbol.is_null() {
            die("chan_bytes: LD_PRELOAD=alloc_count.so is missing")
        }
        let count: extern "C" fn() -> usize = unsafe { std::mem::transmute(symbol) };
        count() as f64
    }
    fn count<C>(o: &Opt, make: impl Fn() -> C, pass: impl Fn(C) -> Option<C>) {
        let n = o.num("n", 100);
        let (mut channels, mut drained) = (Vec::with_capacity(n), Vec::with_capacity(n));
        let before = live_bytes();
        channels.extend((0..n).map(|_| make()));
        let created = live_bytes() - before;
        drained.extend(channels.drain(..).map(pass));
        let kept = live_bytes() - before;
        let each = |bytes| bytes / n as f64;
        let extra = format!("created={:.1} drained={:.1}", each(created), each(kept));
        print(o, format!("kind={}", o.text("kind", "mpsc")), 1, &[NO_TIME], extra);
    }
    let messages = o.num("messages", 10_000);
    // `burst` values in, then as many out
    let in_bursts = move |burst: usize, send: &mut dyn FnMut(u64), recv: &mut dyn FnMut()| {
        for _ in 0..messages / burst {
            (0..burst as u64).for_each(|i| send(i));
            (0..burst).for_each(|_| recv());
        }
    };
    match &*o.text("kind", "mpsc") {
        "mpsc" => count(o, || mpsc::channel::<u64>(1024), |(tx, mut rx)| {
            in_bursts(1000, &mut |i| tx.try_send(i).unwrap(), &mut || { rx.try_recv().unwrap(); });
            Some((tx, rx))
        }),
        "unbounded" => count(o, mpsc::unbounded_channel::<u64>, |(tx, mut rx)| {
            in_bursts(messages, &mut |i| tx.send(i).unwrap(), &mut || { rx.try_recv().unwrap(); });
            Some((tx, rx))
        }),
        "oneshot" => count(o, oneshot::channel::<u64>, |(tx, mut rx)| {
            tx.send(0).unwrap(); // it carries one and is gone
            rx.try_recv().unwrap();
            None
        }),
        "broadcast" => count(o, || broadcast::channel::<u64>(16), |(tx, mut rx)| {
            in_bursts(16, &mut |i| { tx.send(i).unwrap(); }, &mut || { rx.try_recv().unwrap(); });
            Some((tx, rx))
        }),
        "watch" => count(o, || watch::channel(0u64), |(tx, rx)| {
            in_bursts(1, &mut |i| tx.send(i).unwrap(), &mut || { black_box(*rx.borrow()); });
            Some((tx, rx))
        }),
        kind => die(format!("kind={kind}: expected mpsc, unbounded, oneshot, broadcast or watch")),
    }
}

// ------------------------------------------------------------------------------- what a runtime keeps

const NO_TIME: Sample = Sample { wall: 0.0, cpu: 0.0, switches: 0.0 };

// Memory of a runtime that has run one empty task.
fn empty(o: &Opt) {
    let before = status_bytes("RssAnon:");
    let rt = o.runtime();
    rt.block_on(async { tokio::spawn(nothing()).await.unwrap() });
    let bytes = status_bytes("RssAnon:") - before;
    print(o, "-", 1, &[NO_TIME], format!("anon_bytes={bytes}"));
}

// Lets a runtime with a parked task sit for `secs` and counts, from a thread outside of it, how often its threads
// wake and the CPU time that they take.
fn idle(o: &'static Opt) {
    fn now() -> (f64, f64) {
        let mut own = unsafe { std::mem::zeroed::<libc::rusage>() };
        let mut cpu = unsafe { std::mem::zeroed::<libc::timespec>() };
        unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut own) };
        let all = cpu_now();
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut cpu) };
        ((usage().ru_nvcsw - own.ru_nvcsw) as f64, all - cpu.tv_sec as f64 - cpu.tv_nsec as f64 * 1e-9)
    }
    let rt = o.runtime();
    rt.spawn(std::future::pending::<()>());
    std::thread::spawn(move || {
        now(); // so that nothing of it is new when it counts
        std::thread::sleep(ms(300)); // until it has settled
        let (woken, cpu) = now();
        std::thread::sleep(Duration::from_secs_f64(o.secs()));
        let (woken_later, cpu_later) = now();
        let (woken, cpu) = (woken_later - woken, cpu_later - cpu);
        let (woken, cpu) = (woken / o.secs(), cpu.max(0.0) / o.secs() * 1e6);
        print(o, "-", 1, &[NO_TIME], format!("wakeups_per_s={woken:.2} cpu_us_per_s={cpu:.0}"));
        std::process::exit(0);
    });
    rt.block_on(std::future::pending::<()>());
}

// ----------------------------------------------------------------------------------------------- net

async fn echo(mut s: TcpStream) {
    let mut buf = vec![0u8; 4096];
    loop {
        match s.read(&mut buf).await {
            Ok(0) | Err(_) => return,
            Ok(n) => if s.write_all(&buf[..n]).await.is_err() { return },
        }
    }
}

// An echo that owns no buffer while it waits: all tasks of a thread share one.
async fn lean_echo(mut s: TcpStream) {
    thread_local!(static BUF: std::cell::RefCell<[u8; 4096]> = const { std::cell::RefCell::new([0; 4096]) });
    use std::io::ErrorKind::WouldBlock;
    while s.readable().await.is_ok() {
        let rest = BUF.with(|buf| {
            let buf = &mut buf.borrow_mut()[..];
            let n = match s.try_read(buf) {
                Ok(n) if n > 0 => n,
                Err(e) if e.kind() == WouldBlock => return Some(vec![]),
                _ => return None,
            };
            match s.try_write(&buf[..n]) {
                Ok(sent) => Some(buf[sent..n].to_vec()), // an empty one allocates nothing
                Err(e) if e.kind() == WouldBlock => Some(buf[..n].to_vec()),
                Err(_) => None,
            }
        });
        match rest {
            None => return,
            Some(rest) if !rest.is_empty() => if s.write_all(&rest).await.is_err() { return },
            Some(_) => {}
        }
    }
}

// http_answer.h in Rust, line by line.
const HTTP_BUFFER: usize = 4096;
const HTTP_OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nHello";
const HTTP_NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

fn http_answer(input: &[u8], out: &mut [u8]) -> (usize, usize) {
    let (mut at, mut written) = (0, 0);
    while written + HTTP_OK.len() < HTTP_BUFFER {
        let rest = &input[at..];
        let end = unsafe { libc::memmem(rest.as_ptr().cast(), rest.len(), b"\r\n\r\n".as_ptr().cast(), 4) };
        if end.is_null() {
            break;
        }
        let answer = if rest.starts_with(b"GET / ") { HTTP_OK } else { HTTP_NOT_FOUND };
        out[written..written + answer.len()].copy_from_slice(answer);
        written += answer.len();
        at = end as usize + 4 - input.as_ptr() as usize;
    }
    (written, at)
}

async fn http(mut s: TcpStream) {
    let (mut input, mut out, mut have) = (vec![0u8; HTTP_BUFFER], vec![0u8; HTTP_BUFFER], 0);
    while have < HTTP_BUFFER {
        match s.read(&mut input[have..]).await {
            Ok(0) | Err(_) => return,
            Ok(n) => have += n,
        }
        while have > 0 {
            let (n, answered) = http_answer(&input[..have], &mut out);
            if n == 0 {
                break;
            }
            input.copy_within(answered..have, 0);
            have -= answered;
            if s.write_all(&out[..n]).await.is_err() {
                return;
            }
        }
    }
}

fn listen(port: u16) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], port).into()).unwrap_or_else(die);
    socket.listen(4096).unwrap_or_else(die)
}

// Serves until it is killed, or `life` seconds; the load generator measures. Port 0: any free one. Prints
// its address when it is ready.
fn serve<F: Future<Output = ()> + Send + 'static>(o: &Opt, connection: impl Fn(TcpStream) -> F + Send + 'static) {
    unsafe { libc::alarm(o.num("life", 600) as u32) }; // a forgotten server does not stay
    unsafe { // nor does it run out of descriptors before the load does, as prepare_to_serve() of meter.h
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
    let (rt, port, spin) = (o.runtime(), o.num("port", 0) as u16, o.num("spin", 0));
    if spin > 0 { // the bad neighbour: computes for so many milliseconds without giving up its worker
        rt.spawn(async move {
            loop {
                let end = Instant::now() + ms(spin as u64);
                while Instant::now() < end {}
                yield_now().await;
            }
        });
    }
    in_task(&rt, async move {
        let listener = listen(port);
        println!("listening {}", listener.local_addr().unwrap());
        loop {
            match listener.accept().await {
                Ok((s, _)) => {
                    let _ = s.set_nodelay(true);
                    tokio::spawn(connection(s));
                }
                Err(_) => sleep(ms(10)).await, // out of descriptors, say: try again a little later
            }
        }
    })
}

// Clients and echo server in one runtime: `conns` connections over the loopback, n round trips of 64 bytes in all.
fn echo_pairs(o: &Opt) {
    let (rt, conns, n) = (o.runtime(), o.num("conns", 10), o.num("n", 10_000));
    let listener: &'static TcpListener = Box::leak(Box::new(in_task(&rt, async { listen(0) })));
    bench(o, &rt, format!("conns={conns},n={n}"), n, || async move {
        tokio::spawn(async move {
            for _ in 0..conns {
                let (s, _) = listener.accept().await.unwrap();
                s.set_nodelay(true).unwrap();
                tokio::spawn(echo(s));
            }
        });
        let mut peers = vec![];
        for _ in 0..conns {
            let s = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            s.set_nodelay(true).unwrap();
            peers.push(s);
        }
        let m = Meter::start();
        let done = Countdown::new(conns);
        for mut s in peers {
            tokio::spawn(async move {
                let (out, mut back) = ([0; 64], [0; 64]);
                for _ in 0..n / conns {
                    s.write_all(&out).await.unwrap();
                    s.read_exact(&mut back).await.unwrap();
                }
                done.one();
            });
        }
        done.wait().await;
        m.stop()
    });
}

fn main() {
    let o: &'static Opt = Box::leak(Box::new(Opt::parse()));
    match &*o.name {
        "spawn_many_local" => spawn_many_local(o),
        "spawn_join_local" => spawn_join_local(o),
        "spawn_many_remote_idle" => spawn_many_remote_idle(o),
        "chained_spawn" => chained_spawn(o),
        "yield_many" => yield_many(o),
        "yield_one" => yield_one(o),
        "ping_pong" => ping_pong(o),
        "fib" => fib(o),
        "skynet" => skynet(o),
        "mem" => mem(o),
        "timer_cancel" => timer_cancel(o),
        "timeout_ready" => timeout_ready(o),
        "timeout_yield" => timeout_yield(o),
        "sleep_fixed" => sleep_fixed(o),
        "sleep_rand" => sleep_rand(o),
        "spawn_blocking" => spawn_blocking_all(o),
        "spawn_blocking_seq" => spawn_blocking_seq(o),
        "oneshot" => oneshot_ready(o),
        "request_reply" => request_reply(o),
        "notify_pingpong" => notify_pingpong(o),
        "mutex" => mutex(o),
        "mutex_uncontended" => mutex_uncontended(o),
        "semaphore" => semaphore(o),
        "semaphore_uncontended" => semaphore_uncontended(o),
        "rwlock_read" => rwlock_read(o),
        "mpsc" => mpsc_stream(o),
        "mpsc_uncontended" => mpsc_uncontended(o),
        "broadcast" => broadcast_fanout(o),
        "broadcast_stream" => broadcast_stream(o),
        "watch" => watch_fanout(o),
        "chan_bytes" => chan_bytes(o),
        "empty" => empty(o),
        "idle" => idle(o),
        "echo_pairs" => echo_pairs(o),
        "serve_echo" => if o.num("lean", 0) > 0 { serve(o, lean_echo) } else { serve(o, echo) },
        "serve_http" => serve(o, http),
        other => die(format!("unknown workload {other}")),
    }
}
