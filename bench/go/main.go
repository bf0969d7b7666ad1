// The Go side of bench/: the same work, with the same counts, as ../bench_core.c, as far as Go has a natural
// counterpart for it.
//
//	go-bench <workload> [rt=mt2|mt1|ct] [n=N] [secs=S] [miniter=I] [warm=W] ...
//
// The options and the line of output are those of ../bench_core.c. "mt2" is GOMAXPROCS=2, "mt1" and "ct" are
// GOMAXPROCS=1. Status 3, and no output, is the answer to what has no counterpart: an unbounded channel, say.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// ------------------------------------------------------------------------------------------- options

var (
	name    string
	options = map[string]string{}
)

func die(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "go-bench: "+format+"\n", args...)
	os.Exit(2)
}

func noCounterpart() { os.Exit(3) }

func text(key, value string) string {
	if v, ok := options[key]; ok {
		return v
	}
	return value
}

func num(key string, value int) int {
	if v, ok := options[key]; ok {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			die("%s=%s: not a number", key, v)
		}
		return n
	}
	return value
}

func secs() float64 {
	s, err := strconv.ParseFloat(text("secs", "1"), 64)
	if err != nil {
		die("secs: not a number")
	}
	return s
}

// ------------------------------------------------------------------------------------------ metering

type sample struct{ wall, cpu, switches float64 }

type meter struct {
	wall     time.Time
	cpu      float64
	switches int64
}

func usage() (r syscall.Rusage) {
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return
}

func cpuNow() float64 {
	const clockProcessCPUTime = 2
	var t syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockProcessCPUTime, uintptr(unsafe.Pointer(&t)), 0)
	return float64(t.Sec) + float64(t.Nsec)*1e-9
}

func start() meter {
	switches := usage().Nvcsw
	cpu := cpuNow()
	return meter{time.Now(), cpu, switches}
}

func (m meter) stop() sample {
	wall := time.Since(m.wall).Seconds()
	cpu := cpuNow() - m.cpu
	return sample{wall, cpu, float64(usage().Nvcsw - m.switches)}
}

func quantile(sorted []float64, p float64) float64 {
	return sorted[int(float64(len(sorted)-1)*p+0.5)]
}

func report(params string, ops int, samples []sample, extra string) {
	column := func(of func(sample) float64) []float64 {
		v := make([]float64, len(samples))
		for i, s := range samples {
			v[i] = of(s)
		}
		sort.Float64s(v)
		return v
	}
	wall := column(func(s sample) float64 { return s.wall })
	cpu := column(func(s sample) float64 { return s.cpu })
	switches := column(func(s sample) float64 { return s.switches })
	ns := 1e9 / float64(ops)
	fmt.Printf("%s %s,%s %d %.6f %.1f %.1f %.1f %.1f %.1f %.1f %.4f %d %s\n", name, text("rt", "mt2"), params, ops,
		quantile(wall, .5), quantile(wall, .5)*ns, wall[0]*ns, quantile(wall, .1)*ns, quantile(wall, .9)*ns,
		wall[len(wall)-1]*ns, quantile(cpu, .5)*ns, quantile(switches, .5)/float64(ops), len(samples), extra)
}

// An iteration takes its own time, so that its set-up is not in it.
func measure(params string, ops int, iteration func() sample) {
	for i := num("warm", 2); i > 0; i-- {
		iteration()
	}
	var samples []sample
	least, most, begin := num("miniter", 5), num("maxiter", 5000), time.Now()
	for (time.Since(begin).Seconds() < secs() || len(samples) < least) && len(samples) < most {
		samples = append(samples, iteration())
	}
	extra := ""
	if name == "fib" || name == "skynet" {
		extra = fmt.Sprintf("peak_rss=%dKiB", usage().Maxrss)
	}
	report(params, ops, samples, extra)
}

// All of it is the hot part.
func bench(params string, ops int, body func()) {
	measure(params, ops, func() sample {
		m := start()
		body()
		return m.stop()
	})
}

// ----------------------------------------------------------------------------------------- scheduler

type none = struct{}

func spawnManyLocal() {
	n := num("n", 10000)
	bench(fmt.Sprintf("n=%d", n), n, func() {
		left, zero := int64(n), make(chan none, 1)
		for i := 0; i < n; i++ {
			go func() {
				if atomic.AddInt64(&left, -1) == 0 {
					zero <- none{}
				}
			}()
		}
		<-zero
	})
}

// A goroutine has no handle to join it by: it answers on a channel of its own.
func spawnJoinLocal() {
	n := num("n", 10000)
	joins := make([]chan none, n)
	bench(fmt.Sprintf("n=%d", n), n, func() {
		for i := range joins {
			c := make(chan none, 1)
			joins[i] = c
			go func() { c <- none{} }()
		}
		for _, c := range joins {
			<-c
		}
	})
}

func chainedSpawn() {
	var link func(n int, end chan none)
	link = func(n int, end chan none) {
		if n == 0 {
			end <- none{}
		} else {
			go link(n-1, end)
		}
	}
	n := num("n", 1000)
	bench(fmt.Sprintf("depth=%d", n), n, func() {
		end := make(chan none, 1)
		go link(n, end)
		<-end
	})
}

// Runs body in so many goroutines and waits for all of them.
func together(tasks int, body func()) {
	var all sync.WaitGroup
	all.Add(tasks)
	for i := 0; i < tasks; i++ {
		go func() {
			body()
			all.Done()
		}()
	}
	all.Wait()
}

func yields(n int) {
	for i := 0; i < n; i++ {
		runtime.Gosched()
	}
}

func yieldMany() {
	tasks, n := num("tasks", 200), num("n", 1000)
	bench(fmt.Sprintf("%dx%d", tasks, n), tasks*n, func() { together(tasks, func() { yields(n) }) })
}

// io=1: a socket is open, so that there is something to ask the kernel about.
func yieldOne() {
	n, io := num("n", 100000), num("io", 0)
	if io > 0 {
		defer listen().Close()
	}
	bench(fmt.Sprintf("n=%d,io=%d", n, io), n, func() { yields(n) })
}

func pingPong() {
	n := num("n", 1000)
	bench(fmt.Sprintf("pairs=%d", n), n, func() {
		together(n, func() {
			ping, pong := make(chan none, 1), make(chan none, 1)
			go func() {
				<-ping
				pong <- none{}
			}()
			ping <- none{}
			<-pong
		})
	})
}

// Both branches of the recursion are goroutines.
func fib() {
	var node func(n int, answer chan int)
	node = func(n int, answer chan int) {
		if n < 2 {
			answer <- n
			return
		}
		left, right := make(chan int, 1), make(chan int, 1)
		go node(n-1, left)
		go node(n-2, right)
		answer <- <-left + <-right
	}
	var tasks func(n int) int
	tasks = func(n int) int {
		if n < 2 {
			return 1
		}
		return 1 + tasks(n-1) + tasks(n-2)
	}
	n := num("n", 25)
	bench(fmt.Sprintf("n=%d", n), tasks(n), func() {
		answer := make(chan int, 1)
		go node(n, answer)
		<-answer
	})
}

// A tree of goroutines with ten children each, which answer on one channel; the leaves are summed.
func skynet() {
	var node func(first, leaves int, answer chan int)
	node = func(first, leaves int, answer chan int) {
		if leaves == 1 {
			answer <- first
			return
		}
		part, parts, sum := leaves/10, make(chan int, 10), 0
		for i := 0; i < 10; i++ {
			go node(first+i*part, part, parts)
		}
		for i := 0; i < 10; i++ {
			sum += <-parts
		}
		answer <- sum
	}
	n := num("n", 1000000) // a power of ten
	bench(fmt.Sprintf("leaves=%d", n), (n*10-1)/9, func() {
		answer := make(chan int, 1)
		go node(0, n, answer)
		if <-answer != n*(n-1)/2 {
			die("skynet: wrong sum")
		}
	})
}

// ---------------------------------------------------------------------------------------------- time

// xorshift64: the same sequence as in the peers
type rng uint64

func (r *rng) next() uint64 {
	*r ^= *r << 13
	*r ^= *r >> 7
	*r ^= *r << 17
	return uint64(*r)
}

const seed = 0x9E3779B97F4A7C15

func ms(n uint64) time.Duration { return time.Duration(n) * time.Millisecond }

// `live` timers lie in the heap meanwhile; `tick` is the period of one more that keeps firing.
func liveTimers(live, tick int) []*time.Timer {
	if tick > 0 {
		go func() {
			for {
				time.Sleep(ms(uint64(tick)))
			}
		}()
	}
	others, r := make([]*time.Timer, live), rng(seed)
	for i := range others {
		others[i] = time.NewTimer(ms(60000 + r.next()%600000))
	}
	return others
}

func timerCancel() {
	n, live, tick := num("n", 200000), num("live", 0), num("tick", 0)
	others := liveTimers(live, tick)
	bench(fmt.Sprintf("n=%d,live=%d,tick=%d", n, live, tick), n, func() {
		r := rng(seed)
		for i := 1; i <= n; i++ {
			time.NewTimer(ms(1000 + r.next()&0x3fff)).Stop()
			if i%100 == 0 {
				runtime.Gosched()
			}
		}
	})
	runtime.KeepAlive(others)
}

// A timer that lies there for a turn of the scheduler.
func timeoutYield() {
	n, tasks, live, tick := num("n", 200000), num("tasks", 2), num("live", 0), num("tick", 0)
	others := liveTimers(live, tick)
	bench(fmt.Sprintf("n=%d,tasks=%d,live=%d,tick=%d", n, tasks, live, tick), n, func() {
		together(tasks, func() {
			for i := 0; i < n/tasks; i++ {
				t := time.NewTimer(ms(1000))
				runtime.Gosched()
				t.Stop()
			}
		})
	})
	runtime.KeepAlive(others)
}

func sleepFixed() {
	n, each := num("n", 10000), num("ms", 1)
	bench(fmt.Sprintf("n=%d,ms=%d", n, each), n, func() {
		together(n, func() { time.Sleep(ms(uint64(each))) })
	})
}

// -------------------------------------------------------------------------------- channels and locks

func oneshot() {
	n := num("n", 100000)
	bench(fmt.Sprintf("n=%d", n), n, func() {
		for i := 0; i < n; i++ {
			c := make(chan int, 1)
			c <- i
			<-c
		}
	})
}

// To Go the main function is a goroutine like all others: client=main and client=task are the same.
func requestReply() {
	n, client := num("n", 10000), text("client", "task")
	requests := make(chan chan none, 10)
	go func() {
		for reply := range requests {
			reply <- none{}
		}
	}()
	bench(fmt.Sprintf("n=%d,client=%s", n, client), n, func() {
		for i := 0; i < n; i++ {
			answer := make(chan none, 1)
			requests <- answer
			<-answer
		}
	})
}

func notifyPingpong() {
	n := num("n", 50000)
	bench(fmt.Sprintf("n=%d", n), n, func() {
		ping, pong := make(chan none, 1), make(chan none, 1)
		go func() {
			for i := 0; i < n; i++ {
				<-ping
				pong <- none{}
			}
		}()
		for i := 0; i < n; i++ {
			ping <- none{}
			<-pong
		}
	})
}

// hold=1 yields inside the critical section, so that the others really queue.
func mutex() {
	tasks, n, hold := num("tasks", 4), num("n", 50000), num("hold", 0)
	bench(fmt.Sprintf("tasks=%d,n=%d,hold=%d", tasks, n, hold), tasks*n, func() {
		var lock sync.Mutex
		count := 0
		together(tasks, func() {
			for i := 0; i < n; i++ {
				lock.Lock()
				count++
				if hold == 1 {
					runtime.Gosched()
				}
				lock.Unlock()
			}
		})
		if count != tasks*n {
			die("mutex: lost an update")
		}
	})
}

func mutexUncontended() {
	n := num("n", 100000)
	bench(fmt.Sprintf("n=%d", n), n, func() {
		var lock sync.Mutex
		count := 0
		for i := 0; i < n; i++ {
			lock.Lock()
			count++
			lock.Unlock()
		}
	})
}

// The usual semaphore in Go is a channel with as much room as there are permits.
func semaphore() {
	tasks, n, hold, permits := num("tasks", 4), num("n", 50000), num("hold", 0), num("permits", 2)
	bench(fmt.Sprintf("tasks=%d,n=%d,permits=%d,hold=%d", tasks, n, permits, hold), tasks*n, func() {
		limit := make(chan none, permits)
		together(tasks, func() {
			for i := 0; i < n; i++ {
				limit <- none{}
				if hold == 1 {
					runtime.Gosched()
				}
				<-limit
			}
		})
	})
}

func semaphoreUncontended() {
	n := num("n", 100000)
	bench(fmt.Sprintf("n=%d", n), n, func() {
		limit := make(chan none, 2)
		for i := 0; i < n; i++ {
			limit <- none{}
			<-limit
		}
	})
}

var shared struct {
	lock  sync.RWMutex
	value int
}

var sink int64 // keeps what was read from being optimised away

func rwlockRead() {
	tasks, n := num("tasks", 4), num("n", 50000)
	bench(fmt.Sprintf("tasks=%d,n=%d", tasks, n), tasks*n, func() {
		together(tasks, func() {
			sum := 0
			for i := 0; i < n; i++ {
				shared.lock.RLock()
				sum += shared.value
				shared.lock.RUnlock()
			}
			atomic.AddInt64(&sink, int64(sum))
		})
	})
}

func mpsc() {
	producers, capacity, n := num("prod", 1), num("cap", 1024), num("n", 200000)
	if capacity == 0 {
		noCounterpart()
	}
	bench(fmt.Sprintf("prod=%d,cap=%d,n=%d", producers, capacity, n), n, func() {
		c, left, count := make(chan int, capacity), int64(producers), 0
		for p := 0; p < producers; p++ {
			go func() {
				for i := 0; i < n/producers; i++ {
					c <- i
				}
				if atomic.AddInt64(&left, -1) == 0 {
					close(c)
				}
			}()
		}
		for range c {
			count++
		}
		if count != n/producers*producers {
			die("mpsc: lost a message")
		}
	})
}

func mpscUncontended() {
	capacity, n := num("cap", 5000), num("n", 5000)
	if capacity == 0 {
		noCounterpart()
	}
	if capacity < n {
		die("mpsc_uncontended: cap=%d is less than n", capacity)
	}
	bench(fmt.Sprintf("cap=%d,n=%d", capacity, n), n, func() {
		c := make(chan int, capacity)
		for i := 0; i < n; i++ {
			c <- i
		}
		for i := 0; i < n; i++ {
			<-c
		}
	})
}

// The bytes on the heap of an empty channel of 8-byte elements: the mean of `n`. What has passed through it
// changes nothing, as its ring is allocated once; a spent oneshot is garbage.
func chanBytes() {
	n, kind := num("n", 100), text("kind", "mpsc")
	capacity := map[string]int{"mpsc": 1024, "oneshot": 1}[kind]
	if capacity == 0 {
		noCounterpart()
	}
	heap := func() float64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	channels := make([]chan uint64, n)
	runtime.GC()
	debug.SetGCPercent(-1)
	before := heap()
	for i := range channels {
		channels[i] = make(chan uint64, capacity)
	}
	created := (heap() - before) / float64(n)
	runtime.KeepAlive(channels)
	drained := created
	if kind == "oneshot" {
		drained = 0
	}
	report("kind="+kind, 1, []sample{{}}, fmt.Sprintf("created=%.1f drained=%.1f", created, drained))
}

// ----------------------------------------------------------------------------------------------- net

func echo(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err = c.Write(buf[:n]); err != nil {
			return
		}
	}
}

func listen() net.Listener {
	l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", num("port", 0)))
	if err != nil {
		die("%v", err)
	}
	return l
}

func alarm(seconds int) { // a forgotten server does not stay
	go func() {
		time.Sleep(time.Duration(seconds) * time.Second)
		os.Exit(0)
	}()
}

func acceptAll(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go echo(c)
	}
}

func serveEcho() {
	if num("lean", 0) > 0 { // a goroutine reads into memory of its own
		noCounterpart()
	}
	alarm(num("life", 600))
	if spin := num("spin", 0); spin > 0 {
		go func() {
			for {
				for end := time.Now().Add(ms(uint64(spin))); time.Now().Before(end); {
				}
				runtime.Gosched()
			}
		}()
	}
	l := listen()
	fmt.Println("listening", l.Addr())
	acceptAll(l)
}

// net/http, which does far more than the parser of the other programs.
func serveHTTP() {
	alarm(num("life", 600))
	l := listen()
	fmt.Println("listening", l.Addr())
	http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, "Hello")
	}))
}

// Clients and echo server in one program: `conns` connections over the loopback, n round trips of 64 bytes in all.
func echoPairs() {
	conns, n := num("conns", 10), num("n", 10000)
	l := listen()
	go acceptAll(l)
	measure(fmt.Sprintf("conns=%d,n=%d", conns, n), n, func() sample {
		peers := make(chan net.Conn, conns)
		for i := 0; i < conns; i++ {
			c, err := net.Dial("tcp4", l.Addr().String())
			if err != nil {
				die("%v", err)
			}
			peers <- c
		}
		m := start()
		together(conns, func() {
			c, out, back := <-peers, make([]byte, 64), make([]byte, 64)
			defer c.Close()
			for i := 0; i < n/conns; i++ {
				if _, err := c.Write(out); err != nil {
					die("%v", err)
				}
				if _, err := io.ReadFull(c, back); err != nil {
					die("%v", err)
				}
			}
		})
		return m.stop()
	})
}

// ---------------------------------------------------------------------------------------------- main

var workloads = map[string]func(){
	"spawn_many_local":      spawnManyLocal,
	"spawn_join_local":      spawnJoinLocal,
	"chained_spawn":         chainedSpawn,
	"yield_many":            yieldMany,
	"yield_one":             yieldOne,
	"ping_pong":             pingPong,
	"fib":                   fib,
	"skynet":                skynet,
	"timer_cancel":          timerCancel,
	"timeout_yield":         timeoutYield,
	"sleep_fixed":           sleepFixed,
	"oneshot":               oneshot,
	"request_reply":         requestReply,
	"notify_pingpong":       notifyPingpong,
	"mutex":                 mutex,
	"mutex_uncontended":     mutexUncontended,
	"semaphore":             semaphore,
	"semaphore_uncontended": semaphoreUncontended,
	"rwlock_read":           rwlockRead,
	"mpsc":                  mpsc,
	"mpsc_uncontended":      mpscUncontended,
	"chan_bytes":            chanBytes,
	"echo_pairs":            echoPairs,
	"serve_echo":            serveEcho,
	"serve_http":            serveHTTP,
}

func main() {
	if len(os.Args) < 2 {
		die("usage: go-bench <workload> [key=value]...")
	}
	name = os.Args[1]
	for _, arg := range os.Args[2:] {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			die("%s: expected key=value", arg)
		}
		options[key] = value
	}
	run, ok := workloads[name]
	if !ok {
		noCounterpart()
	}
	switch rt := text("rt", "mt2"); rt {
	case "mt2":
		runtime.GOMAXPROCS(2)
	case "mt1", "ct": // it has no other runtime for one thread
		runtime.GOMAXPROCS(1)
	default:
		die("rt=%s: expected mt2, mt1 or ct", rt)
	}
	run()
}
