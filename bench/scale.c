// scale.c - crt on paper: which cache lines 8 to 128 workers fight over.
//
// The functions are those of crt.h, unchanged, on a made-up machine: each thread is a
// fiber with a clock and a cache of its own, and the one whose clock is behind goes next.
// Every access to memory that crt.h allocates, or keeps in static variables, goes through
// a directory of cache lines as in MESI: reading a line that another core wrote, or
// writing one that others hold, is a transfer. It takes TRANSFER ns and keeps the line
// busy that long, so a line that everybody writes is a queue. Nothing depends on the
// machine that this runs on: the same program prints the same table everywhere.
//
//     cc -std=c11 -O2 -D_GNU_SOURCE -U_FORTIFY_SOURCE -fsanitize=thread -I. -Ibench -c bench/scale.c -o scale.o
//     cc scale.o -o scale
//     ./scale                   every workload, 8 to 128 workers
//     ./scale mpsc w=64 top=12  one of them, one size, its twelve hottest fields
//
// Compiled for the thread sanitizer and linked without it, the compiler reports plain
// accesses too; without the flag only atomic ones are counted. The file is included three
// times: as the program, by crt.h for the atomics, and by crt.h for the platform.
//
// For each row: transfers per operation; contended: those of them that an atomic
// read-modify-write waited for; the time of an operation (all of them / the time that
// passed); and by how much the workers together are faster than one worker alone.
// Then the fields that moved most, in transfers per operation.
#if !defined(SCALE_C)
#define SCALE_C

#define CRT_ATOMICS_HEADER "scale.c"
#define CRT_PLATFORM_HEADER "scale.c"
#define CRT_MALLOC(size) sim_malloc(size)
#define CRT_FREE(pointer) sim_free(pointer)
#define CRT_NO_FS
#define CRT_NO_PROCESS
#define CRT_IMPLEMENTATION
#include "crt.h"

// ---------------------------------------------------------------------------
// names of addresses
// ---------------------------------------------------------------------------

typedef struct field {
    const char *name;
    size_t offset, size;
} field;
#define FIELD(type, member) {#member, offsetof(type, member), sizeof(((type *)0)->member)}
static const field runtime_fields[] = {
    FIELD(crt_runtime, refs), FIELD(crt_runtime, closing), FIELD(crt_runtime, stop),
    FIELD(crt_runtime, remote_spawned), FIELD(crt_runtime, remote_completed), FIELD(crt_runtime, config),
    FIELD(crt_runtime, workers), FIELD(crt_runtime, worker_count), FIELD(crt_runtime, threads_alive),
    FIELD(crt_runtime, inject.tail), FIELD(crt_runtime, inject.length), FIELD(crt_runtime, inject.head),
    FIELD(crt_runtime, inject.lock), FIELD(crt_runtime, inject.dummy), FIELD(crt_runtime, urgent),
    FIELD(crt_runtime, background), FIELD(crt_runtime, idle.word), FIELD(crt_runtime, idle.lock),
    FIELD(crt_runtime, idle.sleepers), FIELD(crt_runtime, idle.count), FIELD(crt_runtime, driver_lock),
    FIELD(crt_runtime, monitor_asleep), FIELD(crt_runtime, monitor_last), FIELD(crt_runtime, driver_parked),
    FIELD(crt_runtime, driver_until), FIELD(crt_runtime, reactor), FIELD(crt_runtime, clock_base),
    FIELD(crt_runtime, clock_offset), FIELD(crt_runtime, clock_paused), FIELD(crt_runtime, slab_lock),
    FIELD(crt_runtime, chunks), FIELD(crt_runtime, depot), FIELD(crt_runtime, open_chunk),
    FIELD(crt_runtime, bytes), FIELD(crt_runtime, pool.queue.tail), FIELD(crt_runtime, pool.queue.length),
    FIELD(crt_runtime, pool.queue.head), FIELD(crt_runtime, pool.queue.lock), FIELD(crt_runtime, pool.threads),
    FIELD(crt_runtime, pool.idle), FIELD(crt_runtime, pool.coming), FIELD(crt_runtime, pool.tokens),
    FIELD(crt_runtime, pool.stop), FIELD(crt_runtime, pool.outstanding), FIELD(crt_runtime, sock_lock),
    FIELD(crt_runtime, sock_table), FIELD(crt_runtime, fd_registered), FIELD(crt_runtime, fd_deregistered),
    FIELD(crt_runtime, io_ready), FIELD(crt_runtime, remote_schedules), FIELD(crt_runtime, failures),
    {NULL, 0, 0}};
static const field worker_fields[] = {
    FIELD(crt__worker, rt), FIELD(crt__worker, index), FIELD(crt__worker, park),
    FIELD(crt__worker, lifo_polls), FIELD(crt__worker, lifo), FIELD(crt__worker, running), FIELD(crt__worker, ring),
    FIELD(crt__worker, fifo), FIELD(crt__worker, deferred), FIELD(crt__worker, inbox),
    FIELD(crt__worker, searching), FIELD(crt__worker, sleeping), FIELD(crt__worker, wheel.fresh),
    FIELD(crt__worker, monitor_polls), FIELD(crt__worker, cache), FIELD(crt__worker, wheel.lock),
    FIELD(crt__worker, wheel.elapsed), FIELD(crt__worker, wheel.next), FIELD(crt__worker, wheel.occupied),
    FIELD(crt__worker, wheel.slots), FIELD(crt__worker, polls), FIELD(crt__worker, busy_ns), {NULL, 0, 0}};
static const field ring_fields[] = {
    FIELD(crt__ring, head), FIELD(crt__ring, tail), FIELD(crt__ring, slots), {NULL, 0, 0}};
static const field task_fields[] = {
    FIELD(crt_task, state), FIELD(crt_task, flags), FIELD(crt_task, next), FIELD(crt_task, fn),
    FIELD(crt_task, home), FIELD(crt_task, join), FIELD(crt_task, id), FIELD(crt_task, u), {NULL, 0, 0}};
static const field sock_fields[] = {
    FIELD(crt__sock, ready), FIELD(crt__sock, refs), FIELD(crt__sock, waiters), {NULL, 0, 0}};
static const field mpsc_fields[] = {
    FIELD(crt__mpsc, q), FIELD(crt__mpsc, tail), FIELD(crt__mpsc, taken_seen), FIELD(crt__mpsc, last), FIELD(crt__mpsc, spare),
    FIELD(crt__mpsc, receiver), FIELD(crt__mpsc, taken), FIELD(crt__mpsc, first), {NULL, 0, 0}};

// Which kind of thing lies at an address, and where it begins.
typedef struct place {
    const char *begin, *end, *kind;
    size_t stride;
    const field *fields;
} place;
static place places[4096];
static int place_count;
static void place_add(const void *p, size_t size, const char *kind, size_t stride, const field *fields)
{
    if (place_count < 4096) places[place_count++] = (place){p, (const char *)p + size, kind, stride, fields};
}

static crt_runtime *rt;

SIM static void place_name(const char *p, char *out, size_t n)
{
    for (const crt__chunk *c = rt ? rt->chunks : NULL; c; c = c->next) {
        const char *first = (const char *)c + CRT__CHUNK_HEAD;
        if (p < first || p >= (const char *)c + crt__chunk_bytes(c)) continue;
        size_t at = (size_t)(p - first) % c->stride;
        for (const field *f = task_fields; f->name; f++)
            if (at >= f->offset && at < f->offset + f->size) {
                snprintf(out, n, "task.%s", f->name);
                return;
            }
        snprintf(out, n, "a task's frame");
        return;
    }
    for (int i = place_count; i-- > 0;) {
        const place *x = &places[i];
        if (p < x->begin || p >= x->end) continue;
        size_t at = (size_t)(p - x->begin) % x->stride;
        for (const field *f = x->fields; f && f->name; f++)
            if (at < f->offset + f->size && at + 8 > f->offset) {
                snprintf(out, n, "%s%s", x->kind, f->name);
                return;
            }
        snprintf(out, n, x->fields ? "%s+%zu" : "%s", x->kind, at);
        return;
    }
    snprintf(out, n, p >= sim.arena && p < sim.arena + ARENA ? "heap" : "static");
}

// ---------------------------------------------------------------------------
// the workloads
// ---------------------------------------------------------------------------

enum { MOST_WORKERS = 128 };
typedef struct shared {   // what the actors of a workload share, apart from each other
    CRT__ALIGNAS(64) crt_mutex mutex;
    CRT__ALIGNAS(64) crt_semaphore semaphore;
    struct {
        CRT__ALIGNAS(64) crt_notify woken;
    } player[2 * MOST_WORKERS];
    CRT__ALIGNAS(64) uint32_t settled, open, ended, jobs;
} shared;
static shared all;
static crt_mpsc_tx *tx[MOST_WORKERS];
static crt_mpsc_rx *rx[MOST_WORKERS];
static uint32_t actors, seen_count;
static bool seen[MOST_WORKERS];

typedef struct actor {
    crt_frame co;
    uint32_t id, n, i, k;
    crt_join_handle *join[16];
    crt_stream *stream;
    crt_mutex mutex;
    CRT_SELECT(2) sel;
    intptr_t result;
    crt_poll r;
    uint64_t value;
    char byte;
} actor;

static crt_poll nothing_run(void *frame, crt_cx *cx) { return (void)frame, (void)cx, 0; }
typedef struct work {
    crt_frame co;
    uint64_t ns;
} work;
static crt_poll work_run(void *frame, crt_cx *cx)
{
    (void)cx;
    sim_busy(((work *)frame)->ns);
    crt__atomic_add(&all.jobs, 1, CRT__RELAXED);
    return 0;
}
static intptr_t blocking_job(void *arg) { return (void)arg, sim_busy(500), 0; }

static crt_poll spawn_run(actor *self, crt_cx *cx)   // spawned and joined, sixteen at a time
{
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i += 16) {
        for (uint32_t k = 0; k < 16; k++)
            if (crt_spawn_join(cx, &self->join[k], nothing_run, &(work){.ns = 0}) < 0) CRT_RETURN(-1);
        for (self->k = 0; self->k < 16; self->k++)
            CRT_AWAIT(self->r = crt_join(cx, &self->join[self->k], &self->result));
    }
    CRT_END;
}
static crt_poll yield_run(actor *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++) {
        sim_busy(100);
        CRT_AWAIT(crt_yield_now(cx));
    }
    CRT_END;
}
// Actors 2k and 2k + 1 wake each other in turns.
static crt_poll pingpong_run(actor *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++) {
        if (self->id & 1) CRT_AWAIT(crt_notified(cx, &all.player[self->id].woken));
        sim_busy(100);
        crt_notify_one(&all.player[self->id ^ 1].woken);
        if (!(self->id & 1)) CRT_AWAIT(crt_notified(cx, &all.player[self->id].woken));
    }
    CRT_END;
}
static crt_poll timer_run(actor *self, crt_cx *cx)   // set, and taken down by a select that another arm wins
{
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++)
        CRT_AWAIT(self->r = crt_select_biased(cx, &self->sel, crt_on(cx, 0, crt_sleep(cx, CRT_SEC(5))),
                                              crt_on(cx, 1, crt_consume_budget(cx))));
    CRT_END;
}
static crt_poll sleep_run(actor *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    CRT_END;
}
static crt_poll send_to(actor *self, crt_cx *cx, uint32_t channel)
{
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++) {
        sim_busy(100);
        CRT_AWAIT(crt_mpsc_send(cx, tx[channel], &self->value));
    }
    CRT_END;
}
static crt_poll receive_from(actor *self, crt_cx *cx, uint32_t channel, uint32_t n)
{
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < n; self->i++)
        CRT_AWAIT(self->r = crt_mpsc_recv(cx, rx[channel], &self->value));
    CRT_END;
}
static crt_poll mpsc_run(actor *self, crt_cx *cx)   // everybody to actor 0
{
    return self->id ? send_to(self, cx, 0) : receive_from(self, cx, 0, self->n * (actors - 1));
}
static crt_poll mpsc_pairs_run(actor *self, crt_cx *cx)   // a channel for each pair
{
    return self->id & 1 ? send_to(self, cx, self->id / 2) : receive_from(self, cx, self->id / 2, self->n);
}
static crt_poll mutex_run(actor *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++) {
        CRT_AWAIT(crt_mutex_lock(cx, &all.mutex));
        sim_busy(50);
        crt_mutex_unlock(&all.mutex);
        sim_busy(200);
    }
    CRT_END;
}
static crt_poll mutex_own_run(actor *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++) {
        CRT_AWAIT(crt_mutex_lock(cx, &self->mutex));
        sim_busy(50);
        crt_mutex_unlock(&self->mutex);
    }
    CRT_END;
}
static crt_poll semaphore_run(actor *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++) {
        CRT_AWAIT(crt_semaphore_acquire(cx, &all.semaphore, 1));
        sim_busy(200);
        crt_semaphore_release(&all.semaphore, 1);
    }
    CRT_END;
}
static crt_poll blocking_run(actor *self, crt_cx *cx)
{
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++) {
        if (crt_spawn_blocking(cx, &self->join[0], blocking_job, NULL) < 0) CRT_RETURN(-1);
        CRT_AWAIT(self->r = crt_join(cx, &self->join[0], &self->result));
    }
    CRT_END;
}
static crt_poll io_run(actor *self, crt_cx *cx)   // a byte at a time, as the reactor reports it
{
    CRT_BEGIN(self, cx);
    for (self->i = 0; self->i < self->n; self->i++) {
        CRT_AWAIT(self->r = crt_read(cx, self->stream, &self->byte, 1));
        sim_busy(1000);
    }
    CRT_FINALLY
        crt_close(&self->stream);
    CRT_END;
}

typedef struct workload {
    const char *name, *what;
    crt_poll (*run)(actor *, crt_cx *);   // each actor's; NULL: see `outside`
    uint32_t n, per_worker;               // operations of an actor; actors for each worker
    uint32_t outside;                     // tasks spawned from a thread that is no worker, or from one task
    uint64_t work, gap;                   // ns in each of these; ns between two spawns
    bool from_task, metrics;
} workload;
static const workload workloads[] = {
    {"spawn_local", "a task spawned and joined, on each worker", spawn_run, 480, 1, 0, 0, 0, 0, 0},
    {"spawn_remote", "a task of 1 us, from one thread outside", NULL, 0, 0, 3000, 1000, 20, 0, 0},
    {"wake_sleeper", "a task from outside, the workers asleep", NULL, 0, 0, 400, 1000, 20000, 0, 0},
    {"steal", "a task of 2 us; one task spawns them all", NULL, 0, 0, 8000, 2000, 0, 1, 0},
    {"yield", "a yield after 100 ns; one task on each worker", yield_run, 300, 1, 0, 0, 0, 0, 0},
    {"yield_2", "the same, two tasks for each worker", yield_run, 200, 2, 0, 0, 0, 0, 0},
    {"ping_pong", "a wake of a neighbour that waits, 100 ns of work", pingpong_run, 300, 2, 0, 0, 0, 0, 0},
    {"timer_cancel", "a timer set and taken down", timer_run, 400, 1, 0, 0, 0, 0, 0},
    {"sleep", "a sleep of 1 ms, four tasks for each worker", sleep_run, 6, 4, 0, 0, 0, 0, 0},
    {"mpsc_pairs", "a message; a channel of 64 for each pair", mpsc_pairs_run, 300, 2, 0, 0, 0, 0, 0},
    {"mpsc_all", "a message; all to one receiver", mpsc_run, 60, 1, 0, 0, 0, 0, 0},
    {"mutex_own", "lock, 50 ns, unlock; a mutex for each", mutex_own_run, 400, 1, 0, 0, 0, 0, 0},
    {"mutex_one", "lock, 50 ns, unlock, 200 ns; one mutex", mutex_run, 60, 1, 0, 0, 0, 0, 0},
    {"semaphore", "acquire, 200 ns, release; half as many permits", semaphore_run, 40, 1, 0, 0, 0, 0, 0},
    {"blocking", "a job of 500 ns on the pool, one at a time each", blocking_run, 16, 1, 0, 0, 0, 0, 0},
    {"io", "a byte that the reactor reports, then 1 us", io_run, 30, 4, 0, 0, 0, 0, 0},
    {"metrics", "a yield, and crt_metrics each 20 us", yield_run, 300, 1, 0, 0, 0, 0, 1},
};
static const workload *load;

// Spreads over the workers; then all start together.
typedef struct stage {
    crt_frame co;
    crt_poll r;
    actor actor;
} stage;
static crt_poll stage_run(void *frame, crt_cx *cx)
{
    stage *self = frame;
    CRT_BEGIN(self, cx);
    while (!crt__atomic_load(&all.open, CRT__ACQUIRE)) {
        if (!seen[cx->worker->index]) seen_count++;
        seen[cx->worker->index] = true;
        sim_busy(1500);
        CRT_AWAIT(crt_yield_now(cx));
    }
    CRT_AWAIT(self->r = load->run(&self->actor, cx));
    if (crt__atomic_add(&all.ended, 1, CRT__ACQ_REL) == actors - 1) sim_stop();
    CRT_RETURN(self->r < 0 ? self->r : 0);
    CRT_END;
}

typedef struct root {
    crt_frame co;
    uint32_t i;
} root;
static crt_poll root_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    if (load->run) {
        for (uint32_t i = 0; i < actors; i++) {
            stage x = {.actor = {.id = i, .n = load->n}};
            if (load->run == io_run)
                (void)crt__sock_new(cx->rt, 1000 + i, CRT__WRITABLE, (crt__sock **)(void *)&x.actor.stream);
            if (crt_spawn(cx, stage_run, &x) < 0) CRT_RETURN(-1);
        }
        for (self->i = 0; self->i < 20 && seen_count < sim.workers; self->i++) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
        sim_start();
        crt__atomic_store(&all.open, 1, CRT__RELEASE);
    } else {
        sim_start();
        for (self->i = 0; self->i < load->outside; self->i++)
            if (crt_spawn(cx, work_run, &(work){.ns = load->work}) < 0) CRT_RETURN(-1);
    }
    CRT_END;
}

static bool work_is_done(void)
{
    return load->run ? crt__atomic_load(&all.ended, CRT__ACQUIRE) == actors
                     : crt__atomic_load(&all.jobs, CRT__ACQUIRE) == load->outside;
}
static uint64_t operations_of(void)
{
    if (!load->run) return load->outside;
    if (load->run == mpsc_run) return (uint64_t)load->n * (actors - 1);
    if (load->run == mpsc_pairs_run) return (uint64_t)load->n * actors / 2;
    return (uint64_t)load->n * actors;
}

typedef struct hot {
    char name[48];
    uint64_t transfers, contended;
} hot;
static int hotter(const void *a, const void *b)
{
    uint64_t x = ((const hot *)a)->transfers, y = ((const hot *)b)->transfers;
    return (x < y) - (x > y);
}
SIM static void report(uint32_t top)
{
    static hot table[512];
    size_t count = 0;
    double n = (double)operations_of(), wall = (double)(sim.stopped - sim.started);
    for (size_t i = 0; i < LINES; i++) {
        for (size_t k = 0; sim.lines[i].moved && k < 8; k++) {
            char name[48];
            if (!sim.lines[i].words[k]) continue;
            place_name(sim_line_address(i) + 8 * k, name, sizeof name);
            size_t j = 0;
            while (j < count && strcmp(table[j].name, name)) j++;
            if (j == count && count < 512) {
                memset(&table[count], 0, sizeof *table);
                memcpy(table[count++].name, name, sizeof name);
            }
            if (j < count) table[j].transfers += sim.lines[i].words[k];
        }
    }
    qsort(table, count, sizeof *table, hotter);
    printf("%-13s %4u %9.2f %9.2f %9.1f %9.0f  ", load->name, sim.workers, (double)sim.transfers / n,
           (double)sim.contended / n, wall / n, wall * sim.workers / n);
    for (size_t j = 0; j < count && j < top; j++)
        printf(" %s %.2f", table[j].name, (double)table[j].transfers / n);
    printf("\n");
    fflush(stdout);
}

static int measure(uint32_t workers, uint32_t top)
{
    crt_config config = {.worker_threads = (int)workers, .seed = 1, .max_blocking_threads = (int)workers / 2 + 1};
    crt_join_handle *join = NULL;
    crt_runtime_metrics m;
    sim_reset(workers);
    memset(&all, 0, sizeof all);
    memset(seen, 0, sizeof seen);
    seen_count = 0;
    place_count = 0;
    actors = load->per_worker * workers;
    crt_semaphore_init(&all.semaphore, workers / 2 + 1);
    place_add(&all, sizeof all, "shared.", sizeof all, NULL);
    place_add(&all.mutex, sizeof all.mutex, "the mutex", sizeof all.mutex, NULL);
    place_add(&all.semaphore, sizeof all.semaphore, "the semaphore", sizeof all.semaphore, NULL);
    place_add(all.player, sizeof all.player, "a notify", sizeof all.player, NULL);
    for (uint32_t i = 0; i < (load->run == mpsc_pairs_run ? workers : 1); i++) {
        if (crt_mpsc_new(8, 64, &tx[i], &rx[i]) < 0) return 1;
        place_add(tx[i], sizeof(crt__mpsc), "mpsc.", sizeof(crt__mpsc), mpsc_fields);
    }
    if (crt_runtime_new(&config, &rt) < 0) return 1;
    place_add(rt, sizeof *rt, "rt.", sizeof *rt, runtime_fields);
    place_add(rt->workers, workers * sizeof *rt->workers, "worker.", sizeof *rt->workers, worker_fields);
    for (uint32_t i = 0; i < workers; i++)
        place_add(rt->workers[i].ring, sizeof(crt__ring), "ring.", sizeof(crt__ring), ring_fields);
    place_add(rt->idle.sleepers, workers * sizeof(uint32_t), "the stack of sleepers", sizeof(uint32_t), NULL);
    sim.count_io = load->run == io_run ? actors : 0;

    crt_handle *h = crt_runtime_handle(rt);
    sim_busy(1000000);   // the workers go to sleep
    if (load->run || load->from_task) {
        if (crt_handle_spawn_join(h, &join, root_run, &(root){.i = 0}) < 0) return 1;
        while (load->metrics && !work_is_done()) {
            crt_metrics(rt, &m);
            sim_busy(20000);
        }
        if (crt_join_blocking(&join, NULL) < 0) return 1;
    } else {
        sim_start();
        for (uint32_t i = 0; i < load->outside; i++) {
            if (crt_handle_spawn(h, work_run, &(work){.ns = load->work}) < 0) return 1;
            sim_busy(load->gap);
        }
    }
    while (!work_is_done()) sim_busy(1000);
    if (!load->run) sim_stop();
    if (load->run == io_run)
        for (uint32_t t = 0; t < 20 && rt->sock_table[t]; t++)
            place_add(rt->sock_table[t], (64u << t) * sizeof(crt__sock), "socket.", sizeof(crt__sock), sock_fields);
    report(top);
    crt_handle_drop(&h);
    for (uint32_t i = 0; i < (load->run == mpsc_pairs_run ? workers : 1); i++) {
        crt_mpsc_tx_drop(&tx[i]);
        crt_mpsc_rx_drop(&rx[i]);
    }
    crt_runtime_drop(&rt);
    return 0;
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = {8, 16, 32, 64, 128};
    uint32_t only = 0, top = 4;
    const char *name = NULL;
    for (int i = 1; i < argc; i++) {
        if (!strncmp(argv[i], "w=", 2)) only = (uint32_t)atoi(argv[i] + 2);
        else if (!strncmp(argv[i], "top=", 4)) top = (uint32_t)atoi(argv[i] + 4);
        else name = argv[i];
    }
    if (only > MOST_WORKERS) return fprintf(stderr, "at most %d workers\n", MOST_WORKERS), 2;
    sim_begin(&crt__tls, sizeof crt__tls);
    printf("%-13s %4s %9s %9s %9s %9s   hottest fields, transfers/op\n", "workload", "w", "transf/op", "contend/op",
           "ns/op", "ns*w/op");
    for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++) {
        load = &workloads[i];
        if (name && strcmp(name, load->name)) continue;
        printf("%s: %s\n", load->name, load->what);
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
            if ((!only || sizes[k] == only) && measure(sizes[k], top)) return fprintf(stderr, "%s failed\n", load->name), 1;
        if (only && only != 8 && only != 16 && only != 32 && only != 64 && only != 128 && measure(only, top)) return 1;
    }
    return 0;
}

#elif !defined(SCALE_MACHINE)
#define SCALE_MACHINE
// ---------------------------------------------------------------------------
// from >>atomics: fibers, their clocks, the directory of cache lines
// ---------------------------------------------------------------------------
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>

#define SIM __attribute__((no_sanitize("thread"), noinline, unused))
enum {   // ns
    TRANSFER = 60,        // a line from another core
    RMW = 6,              // an atomic read-modify-write of a line that is here
    SYSCALL = 400,        // into the kernel and back
    WAKE_UP = 3000,       // until a sleeper that was woken runs
    MOST_FIBERS = 256,
    STACK = 128 * 1024
};
#define ARENA ((size_t)96 << 20)
#define LINES ((ARENA >> 6) + (1 << 16))   // the rest for static variables

typedef struct sim_line {
    uint64_t have[4];     // cores that hold a copy
    uint64_t busy;        // until then it is on its way
    uint32_t moved;
    uint32_t words[8];    // transfers, by the word that was asked for
} sim_line;
typedef struct sim_fiber {
    jmp_buf at;
    ucontext_t first;
    char *stack;
    void *(*fn)(void *);
    void *arg;
    uint64_t now, until;   // its clock; when a wait is over
    const uint32_t *word;  // what it waits on
    bool used, started, blocked, late;
    uint32_t done;
    char tls[64];
} sim_fiber;
static struct {
    char *arena;
    size_t used;
    const char *statics;
    sim_line *lines;
    sim_fiber fibers[MOST_FIBERS];
    uint32_t current, count, workers, count_io;
    uint64_t limit;        // beyond it somebody else's clock is behind
    bool counting;
    uint64_t transfers, contended, started, stopped;
    void *tls;
    size_t tls_size;
} sim;
extern char __data_start[], _end[];

SIM static const char *sim_line_address(size_t i)
{
    return i < ARENA >> 6 ? sim.arena + (i << 6) : sim.statics + ((i - (ARENA >> 6)) << 6);
}

// The fiber whose clock is behind goes next. A timed wait may end meanwhile.
SIM static void sim_switch(void)
{
    for (;;) {
        uint32_t next = MOST_FIBERS;
        uint64_t first = UINT64_MAX, second = UINT64_MAX;
        for (uint32_t i = 0; i < sim.count; i++) {
            sim_fiber *f = &sim.fibers[i];
            if (!f->used || f->done) continue;
            uint64_t t = f->blocked ? f->until : f->now;
            if (t < first) {
                second = first;
                first = t;
                next = i;
            } else if (t < second) {
                second = t;
            }
        }
        if (next == MOST_FIBERS) {
            fprintf(stderr, "everybody waits\n");
            abort();
        }
        sim_fiber *f = &sim.fibers[next], *me = &sim.fibers[sim.current];
        sim.limit = second;
        if (f->blocked) {
            f->blocked = false;
            f->late = true;
            f->now = f->until;
        }
        if (f == me) return;
        __builtin_memcpy(me->tls, sim.tls, sim.tls_size);
        sim.current = next;
        if (!_setjmp(me->at)) {
            if (f->started) _longjmp(f->at, 1);
            f->started = true;
            __builtin_memset(sim.tls, 0, sim.tls_size);
            setcontext(&f->first);
        }
        __builtin_memcpy(sim.tls, sim.fibers[sim.current].tls, sim.tls_size);
        return;
    }
}
SIM static void sim_busy(uint64_t ns)
{
    sim.fibers[sim.current].now += ns;
    if (sim.fibers[sim.current].now > sim.limit) sim_switch();
}

// An access of the running fiber.
SIM static void sim_touch(const void *pointer, bool write, bool rmw)
{
    const char *p = pointer;
    sim_fiber *f = &sim.fibers[sim.current];
    size_t i;
    f->now += rmw ? RMW : 1;
    if (p >= sim.arena && p < sim.arena + ARENA) i = (size_t)(p - sim.arena) >> 6;
    else if (p >= sim.statics && p < _end && (p < (char *)&sim || p >= (char *)(&sim + 1)))
        i = (ARENA >> 6) + ((size_t)(p - sim.statics) >> 6);
    else return;
    if (i >= LINES) return;
    sim_line *l = &sim.lines[i];
    uint64_t bit = (uint64_t)1 << (sim.current & 63), *mine = &l->have[sim.current >> 6];
    uint64_t others = l->have[0] | l->have[1] | l->have[2] | l->have[3];
    bool here = (*mine & bit) != 0;
    if (write && here)
        for (uint32_t k = 0; k < 4; k++)
            if (l->have[k] & ~(k == sim.current >> 6 ? bit : 0)) here = false;
    if (!here && others) {
        f->now = (f->now > l->busy ? f->now : l->busy) + TRANSFER;
        l->busy = f->now;
        if (sim.counting) {
            l->moved++;
            l->words[((uintptr_t)p >> 3) & 7]++;
            sim.transfers++;
            sim.contended += rmw;
        }
    }
    if (write) l->have[0] = l->have[1] = l->have[2] = l->have[3] = 0;
    *mine |= bit;
}
SIM static void sim_range(const void *pointer, size_t size, bool write)
{
    const char *p = pointer;
    for (size_t i = 0; i < size; i += 64) sim_touch(p + i, write, false);
    if (size) sim_touch(p + size - 1, write, false);
}

// --- atomics. A switch comes before the access, so that it happens at its time.

typedef enum sim_kind { SIM_LOAD, SIM_STORE, SIM_XCHG, SIM_ADD, SIM_SUB, SIM_OR, SIM_AND } sim_kind;
SIM static uint64_t sim_raw(const void *p, size_t size)
{
    switch (size) {
    case 1: return *(const volatile uint8_t *)p;
    case 2: return *(const volatile uint16_t *)p;
    case 4: return *(const volatile uint32_t *)p;
    default: return *(const volatile uint64_t *)p;
    }
}
SIM static void sim_put(void *p, size_t size, uint64_t v)
{
    switch (size) {
    case 1: *(volatile uint8_t *)p = (uint8_t)v; break;
    case 2: *(volatile uint16_t *)p = (uint16_t)v; break;
    case 4: *(volatile uint32_t *)p = (uint32_t)v; break;
    default: *(volatile uint64_t *)p = v; break;
    }
}
SIM static uint64_t sim_atomic(const void *pointer, size_t size, sim_kind kind, uint64_t v)
{
    void *p = (void *)(uintptr_t)pointer;
    sim_busy(0);
    sim_touch(p, kind != SIM_LOAD, kind > SIM_STORE);
    uint64_t old = sim_raw(p, size);
    switch (kind) {
    case SIM_LOAD: return old;
    case SIM_STORE:
    case SIM_XCHG: break;
    case SIM_ADD: v = old + v; break;
    case SIM_SUB: v = old - v; break;
    case SIM_OR: v = old | v; break;
    case SIM_AND: v = old & v; break;
    }
    sim_put(p, size, v);
    return old;
}
SIM static bool sim_cas(void *p, void *expected, size_t size, uint64_t v)
{
    sim_busy(0);
    sim_touch(p, true, true);
    uint64_t old = sim_raw(p, size);
    bool same = old == sim_raw(expected, size);
    sim_put(same ? p : expected, size, same ? v : old);
    return same;
}
#define CRT__RELAXED __ATOMIC_RELAXED
#define CRT__ACQUIRE __ATOMIC_ACQUIRE
#define CRT__RELEASE __ATOMIC_RELEASE
#define CRT__ACQ_REL __ATOMIC_ACQ_REL
#define CRT__SEQ_CST __ATOMIC_SEQ_CST
#define SIM_OP(p, kind, v) \
    __extension__({ (__typeof__((void)0, *(p)))sim_atomic((p), sizeof *(p), (kind), (uint64_t)(uintptr_t)(v)); })
#define crt__atomic_load(p, order) ((void)(order), SIM_OP(p, SIM_LOAD, 0))
#define crt__atomic_store(p, v, order) ((void)(order), (void)SIM_OP(p, SIM_STORE, v))
#define crt__atomic_xchg(p, v, order) ((void)(order), SIM_OP(p, SIM_XCHG, v))
#define crt__atomic_add(p, v, order) ((void)(order), SIM_OP(p, SIM_ADD, v))
#define crt__atomic_sub(p, v, order) ((void)(order), SIM_OP(p, SIM_SUB, v))
#define crt__atomic_or(p, v, order) ((void)(order), SIM_OP(p, SIM_OR, v))
#define crt__atomic_and(p, v, order) ((void)(order), SIM_OP(p, SIM_AND, v))
#define crt__atomic_cas(p, expected, desired, ok, fail) \
    ((void)(ok), (void)(fail), sim_cas((p), (expected), sizeof *(p), (uint64_t)(uintptr_t)(desired)))
#define crt__atomic_cas_weak(p, expected, desired, ok, fail) crt__atomic_cas(p, expected, desired, ok, fail)
#define crt__atomic_fence(order) ((void)(order), sim_busy(RMW))
#define crt__cpu_relax() sim_busy(30)

// --- what the compiler reports when it instruments

#define SIM_HOOK(n)                                                          \
    SIM void __tsan_read##n(void *p);                                        \
    SIM void __tsan_write##n(void *p);                                       \
    SIM void __tsan_unaligned_read##n(void *p);                              \
    SIM void __tsan_unaligned_write##n(void *p);                             \
    void __tsan_read##n(void *p) { sim_touch(p, false, false); }             \
    void __tsan_write##n(void *p) { sim_touch(p, true, false); }             \
    void __tsan_unaligned_read##n(void *p) { sim_range(p, n, false); }       \
    void __tsan_unaligned_write##n(void *p) { sim_range(p, n, true); }
SIM_HOOK(1) SIM_HOOK(2) SIM_HOOK(4) SIM_HOOK(8) SIM_HOOK(16)
SIM void __tsan_init(void);
SIM void __tsan_func_entry(void *pc);
SIM void __tsan_func_exit(void);
SIM void __tsan_read_range(void *p, size_t n);
SIM void __tsan_write_range(void *p, size_t n);
void __tsan_init(void) {}
void __tsan_func_entry(void *pc) { (void)pc; }
void __tsan_func_exit(void) {}
void __tsan_read_range(void *p, size_t n) { sim_range(p, n, false); }
void __tsan_write_range(void *p, size_t n) { sim_range(p, n, true); }

SIM static void *sim_memcpy(void *to, const void *from, size_t n)
{
    sim_range(from, n, false);
    sim_range(to, n, true);
    return __builtin_memcpy(to, from, n);
}
SIM static void *sim_memset(void *to, int v, size_t n)
{
    sim_range(to, n, true);
    return __builtin_memset(to, v, n);
}
#undef memcpy
#undef memset
#define memcpy(to, from, n) sim_memcpy((to), (from), (n))
#define memset(to, v, n) sim_memset((to), (v), (n))

// --- memory, time, threads

SIM static void *sim_malloc(size_t size)
{
    // Aligned as a good allocator aligns: small blocks to 16 bytes.
    sim.used = (sim.used + 15) & ~(size_t)15;
    if (sim.used + size + 16 > ARENA) return NULL;
    void *p = sim.arena + sim.used + 16;   // a header before each
    sim.used += size + 16;
    return p;
}
SIM static void sim_free(void *p) { (void)p; }

SIM static int sim_clock(struct timespec *t)
{
    uint64_t now = sim.fibers[sim.current].now;
    sim_busy(20);
    t->tv_sec = (time_t)(now / 1000000000);
    t->tv_nsec = (long)(now % 1000000000);
    return 0;
}
#define clock_gettime(clock, t) sim_clock(t)

// Blocks until woken or late. The word was looked at by the caller.
SIM static void sim_block(const uint32_t *word, int64_t timeout)
{
    sim_fiber *f = &sim.fibers[sim.current];
    f->now += SYSCALL;
    f->word = word;
    f->late = false;
    f->blocked = true;
    f->until = timeout < 0 || timeout > INT64_MAX / 2 ? UINT64_MAX - 1 : f->now + (uint64_t)timeout;
    sim_switch();
}
SIM static void sim_wake(const uint32_t *word, int how_many)
{
    sim_fiber *me = &sim.fibers[sim.current];
    for (uint32_t i = 0; i < sim.count && how_many > 0; i++) {
        sim_fiber *f = &sim.fibers[i];
        if (!f->used || !f->blocked || f->word != word) continue;
        f->blocked = false;
        f->now = (f->now > me->now ? f->now : me->now) + WAKE_UP;
        if (f->now < sim.limit) sim.limit = f->now;
        how_many--;
    }
}
SIM static void sim_fiber_main(void)
{
    sim_fiber *f = &sim.fibers[sim.current];
    f->fn(f->arg);
    f->done = 1;
    sim_wake(&f->done, INT_MAX);
    sim_switch();
}
SIM static int sim_thread(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    uint32_t i = 0;
    while (i < sim.count && (sim.fibers[i].used && !(i && sim.fibers[i].done))) i++;
    if (i == MOST_FIBERS) return EAGAIN;
    if (i == sim.count) sim.count++;
    sim_fiber *f = &sim.fibers[i];
    char *stack = f->stack;
    __builtin_memset(f, 0, sizeof *f);
    f->stack = stack ? stack : mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    f->fn = fn;
    f->arg = arg;
    f->used = true;
    f->now = sim.fibers[sim.current].now + WAKE_UP;
    getcontext(&f->first);
    sigemptyset(&f->first.uc_sigmask);   // crt blocks all while it starts a thread
    f->first.uc_stack.ss_sp = f->stack;
    f->first.uc_stack.ss_size = STACK;
    makecontext(&f->first, sim_fiber_main, 0);
    if (f->now < sim.limit) sim.limit = f->now;
    *thread = i;
    return 0;
}
SIM static int sim_thread_join(pthread_t thread)
{
    while (!sim.fibers[thread].done) sim_block(&sim.fibers[thread].done, -1);
    return 0;
}
#define pthread_create(thread, attr, fn, arg) sim_thread((thread), (fn), (arg))
#define pthread_join(thread, result) sim_thread_join(thread)
#define pthread_detach(thread) ((void)(thread))
#define pthread_self() ((pthread_t)sim.current)

SIM static void sim_begin(void *tls, size_t size)
{
    size_t bytes = ARENA + LINES * sizeof *sim.lines;
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED || size > sizeof sim.fibers->tls) abort();
    sim.arena = p;
    sim.lines = (sim_line *)(void *)(p + ARENA);
    sim.statics = (char *)((uintptr_t)__data_start & ~(uintptr_t)63);
    sim.tls = tls;
    sim.tls_size = size;
}
// One thread, at the beginning of time, and nothing in any cache.
SIM static void sim_reset(uint32_t workers)
{
    madvise(sim.arena, ARENA + LINES * sizeof *sim.lines, MADV_DONTNEED);
    sim.used = 0;
    sim.workers = workers;
    sim.count = 1;
    sim.current = 0;
    for (uint32_t i = 0; i < MOST_FIBERS; i++) sim.fibers[i].used = false;
    sim.fibers[0].used = sim.fibers[0].started = true;
    sim.fibers[0].done = 0;
    sim.fibers[0].now = 1000000000;
    sim.limit = UINT64_MAX;
    sim.counting = false;
    sim.transfers = sim.contended = 0;
    __builtin_memset(sim.tls, 0, sim.tls_size);
}
SIM static void sim_start(void)
{
    sim.counting = true;
    sim.started = sim.fibers[sim.current].now;
}
SIM static void sim_stop(void)
{
    sim.counting = false;
    sim.stopped = sim.fibers[sim.current].now;
}

#elif !defined(SCALE_REACTOR)
#define SCALE_REACTOR
// ---------------------------------------------------------------------------
// from >>reactor: the real platform header, but its reactor and its futex
// ---------------------------------------------------------------------------
static int crt__futex_wait(uint32_t *addr, uint32_t expected, int64_t timeout_ns)
{
    if (crt__atomic_load(addr, CRT__RELAXED) != expected) return 0;
    sim_block(addr, timeout_ns);
    return sim.fibers[sim.current].late;
}
static void crt__futex_wake(uint32_t *addr, int how_many)
{
    sim_busy(SYSCALL);
    sim_wake(addr, how_many);
}
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#define CRT__FUTEX_OVERRIDE
#define crt__reactor sim_real_reactor
#define crt__reactor_add sim_real_add
#define crt__reactor_add_priority sim_real_add_priority
#define crt__reactor_remove sim_real_remove
#define crt__reactor_wait sim_real_wait
#define crt__reactor_wake sim_real_wake
#define crt__reactor_fd sim_real_fd
#define crt__reactor_new sim_real_new
#define crt__reactor_free sim_real_free
#define crt__fd_close sim_real_close
#define crt__sock_recv sim_real_recv
#define crt__sock_send sim_real_send
typedef struct sim_real_reactor sim_real_reactor;
static void sim_real_free(crt_runtime *runtime, sim_real_reactor *r);
#include "crt_platform_epoll.h"
#undef crt__reactor
#undef crt__reactor_add
#undef crt__reactor_add_priority
#undef crt__reactor_remove
#undef crt__reactor_wait
#undef crt__reactor_wake
#undef crt__reactor_fd
#undef crt__reactor_new
#undef crt__reactor_free
#undef crt__fd_close
#undef crt__sock_recv
#undef crt__sock_send
#pragma GCC diagnostic pop

// Descriptors 1000 + i; each has a byte to read whenever the reactor has told.
enum { SIM_DESCRIPTORS = 1024, SIM_EVENTS = 64 };
struct crt__reactor {
    CRT__ALIGNAS(64) uint32_t signal;   // atomic futex word
    uint32_t turn;
    struct {
        uint64_t token;
        uint32_t bytes, watched;
    } d[SIM_DESCRIPTORS];
};
static crt__reactor sim_reactor;

static int crt__reactor_add(crt__reactor *r, crt__fd fd, uint64_t token)
{
    r->d[fd - 1000].token = token;
    r->d[fd - 1000].bytes = 0;
    r->d[fd - 1000].watched = 1;
    return 0;
}
static int crt__reactor_add_priority(crt__reactor *r, crt__fd fd, uint64_t token)
{
    return crt__reactor_add(r, fd, token);
}
static void crt__reactor_remove(crt__reactor *r, crt__fd fd, uint64_t token)
{
    (void)token;
    r->d[fd - 1000].watched = 0;
}
static int crt__reactor_wait(crt__reactor *r, crt_runtime *runtime, int64_t timeout_ns)
{
    int n = 0;
    sim_busy(SYSCALL);
    bool any = false;
    for (uint32_t i = 0; i < sim.count_io && !any; i++) any = r->d[i].watched && !r->d[i].bytes;
    if (!any && timeout_ns) (void)crt__futex_wait(&r->signal, 0, timeout_ns);
    crt__atomic_xchg(&r->signal, 0, CRT__ACQ_REL);
    for (uint32_t i = 0; i < sim.count_io && n < SIM_EVENTS; i++) {
        uint32_t k = r->turn++ % sim.count_io;
        if (!r->d[k].watched || r->d[k].bytes) continue;
        r->d[k].bytes = 1;
        crt__io_event(runtime, r->d[k].token, CRT__READABLE);
        n++;
    }
    return n;
}
static void crt__reactor_wake(crt__reactor *r)
{
    crt__atomic_xchg(&r->signal, 1, CRT__ACQ_REL);
    crt__futex_wake(&r->signal, 1);
}
static crt__fd crt__reactor_fd(crt__reactor *r) { return r ? 0 : -1; }
static crt__reactor *crt__reactor_new(crt_runtime *runtime, int max_events, int *error)
{
    (void)runtime, (void)max_events, (void)error;
    __builtin_memset(&sim_reactor, 0, sizeof sim_reactor);
    return &sim_reactor;
}
static void crt__reactor_free(crt_runtime *runtime, crt__reactor *r) { (void)runtime, (void)r; }
static void crt__fd_close(crt__fd fd) { (void)fd; }
static intptr_t crt__sock_recv(crt__fd fd, void *buf, size_t n)
{
    sim_busy(SYSCALL);
    if (!n || !sim_reactor.d[fd - 1000].bytes) return errno = EAGAIN, -1;
    sim_reactor.d[fd - 1000].bytes = 0;
    *(char *)buf = 1;
    return 1;
}
static intptr_t crt__sock_send(crt__fd fd, const void *buf, size_t n) { return (void)fd, (void)buf, (intptr_t)n; }
#endif
