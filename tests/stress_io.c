// stress_io.c - sockets, pipes and streams in memory, at random, for as long as you like.
//
//     stress_io [SECONDS] [WORKERS] [SEED]
//
// Sixteen conversations at a time on a runtime of WORKERS (4). In each a writer sends a pattern to a reader, through a
// TCP connection, a Unix pair, a pipe or a stream in memory; every wait is at random plain, under a time-out, or the
// loser of a select; and in the middle of it the writer or the reader may be aborted, or either end shut down through
// another handle, or that handle closed from another thread. What was read has to be a beginning of what was written,
// and all of it where nothing was ended before its time; at the end every descriptor is closed and every task gone.
// A watchdog dumps every task and fails if nothing has moved for 20 s.
#define CRT_IMPLEMENTATION
#include "crt.h"
#include "harness.h"
#include "stress.h"
#include <pthread.h>

enum { TALKS = 16 };
enum how { TCP, UNIX, PIPE, MEMORY, HOWS };
enum trick { NONE, ABORT_WRITER, ABORT_READER, CLOSE_WRITER, CLOSE_READER, SHUT_WRITER, SHUT_READER, TRICKS };

static long moves, talks[HOWS], tricks[TRICKS], cut_short, gave_up, bytes;   // atomic
static bool over;                                                            // atomic
static crt_listener *listener;
static char port[64];

static unsigned char byte_at(size_t i) { return (unsigned char)(i * 7 + i / 251); }

typedef struct side {
    crt_frame co;
    crt_stream *s;
    uint64_t rng;
    size_t n, most, want;
    long *done;   // atomic: bytes that got through, the talk's
    crt_poll r, got;
    int way;
    crt_timer timer;
    CRT_SELECT(2) sel;
    unsigned char buf[4096];
} side;

static crt_poll given_up(crt_poll which, const side *self)
{
    return which < 0 ? which : which == 0 ? self->got : GAVE_UP;
}
#define TRY(...)                                                                           \
    do {                                                                                   \
        TRY_WITHIN(CRT_US(pick(&self->rng, 3) * 100), __VA_ARGS__);                        \
        add(self->r == GAVE_UP ? &gave_up : &moves, 1);                                    \
    } while (0)

static crt_poll writer_run(void *frame, crt_cx *cx)
{
    side *self = frame;
    CRT_BEGIN(self, cx);
    while (self->n < self->most) {
        self->want = 1 + pick(&self->rng, sizeof self->buf);
        if (self->want > self->most - self->n) self->want = self->most - self->n;
        for (size_t i = 0; i < self->want; i++) self->buf[i] = byte_at(self->n + i);
        if (pick(&self->rng, 4) == 0) CRT_AWAIT(crt_sleep(cx, CRT_US(pick(&self->rng, 300))));
        TRY(crt_write(cx, self->s, self->buf, self->want));
        if (self->r == GAVE_UP) continue;
        if (self->r < 0) break;   // closed, shut down, reset
        self->n += (size_t)self->r;
        add(self->done, self->r);
    }
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}
static crt_poll reader_run(void *frame, crt_cx *cx)
{
    side *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        self->want = 1 + pick(&self->rng, sizeof self->buf);
        if (pick(&self->rng, 4) == 0) CRT_AWAIT(crt_sleep(cx, CRT_US(pick(&self->rng, 300))));
        TRY(crt_read(cx, self->s, self->buf, self->want));
        if (self->r == GAVE_UP) continue;
        if (self->r <= 0) break;   // the end, or closed, shut down, reset
        for (size_t i = 0; i < (size_t)self->r; i++)
            if (self->buf[i] != byte_at(self->n + i)) {
                CHECK_EQ(self->buf[i], byte_at(self->n + i));
                break;
            }
        self->n += (size_t)self->r;
        add(self->done, self->r);
    }
    CRT_FINALLY
        crt_close(&self->s);
    CRT_END;
}

typedef struct talk {
    crt_frame co;
    uint64_t rng;
    enum how how;
    enum trick trick;
    size_t most;
    long written, read;   // atomic
    crt_stream *w, *r, *handle;
    crt_join_handle *writer, *reader;
    crt_poll e, connected, accepted;
    CRT_SELECT(2) sel;
} talk;
static crt_poll play(talk *self, crt_cx *cx)
{
    switch (self->trick) {
    case ABORT_WRITER: crt_abort(self->writer); break;
    case ABORT_READER: crt_abort(self->reader); break;
    case CLOSE_WRITER: case CLOSE_READER: crt_close(&self->handle); break;   // one of two handles: the other goes on
    case SHUT_WRITER: return crt_shutdown(cx, self->handle);
    case SHUT_READER: return crt_shutdown_read(cx, self->handle);
    default: break;
    }
    return 0;
}
static intptr_t close_elsewhere(void *s)
{
    crt_stream *mine = s;
    crt_close(&mine);
    return 0;
}
static bool is_pair(const crt_stream *w, const crt_stream *r)
{
    crt_addr a, b;
    return crt_stream_local_addr(w, &a) == 0 && crt_stream_peer_addr(r, &b) == 0 && crt_addr_equal(&a, &b);
}
static crt_poll open_both(talk *self, crt_cx *cx)
{
    if (self->how == UNIX) return crt_stream_pair(cx, &self->w, &self->r);
    if (self->how == PIPE) return crt_pipe(cx, &self->r, &self->w);
    return crt_duplex(cx, 1 + pick(&self->rng, 5000), &self->w, &self->r);
}
static crt_poll talk_run(void *frame, crt_cx *cx)
{
    static crt_mutex connecting;
    talk *self = frame;
    CRT_BEGIN(self, cx);
    while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
        self->how = (enum how)pick(&self->rng, HOWS);
        self->trick = (enum trick)pick(&self->rng, TRICKS);
        if (pick(&self->rng, 3) == 0) self->trick = NONE;
        self->most = pick(&self->rng, 60000);
        self->written = self->read = 0;
        if (self->how == TCP) {
            CRT_AWAIT(self->e = crt_mutex_lock(cx, &connecting));
            CRT_AWAIT(self->e = crt_join_all(cx, &self->sel,
                crt_on(cx, 0, self->connected = crt_tcp_connect(cx, port, &self->w)),
                crt_on(cx, 1, self->accepted = crt_accept(cx, listener, &self->r, NULL))));
            crt_mutex_unlock(&connecting);
            CHECK(self->connected == 0 && self->accepted == 0 && is_pair(self->w, self->r));
        } else {
            CHECK_EQ(open_both(self, cx), 0);
        }
        if (self->trick == CLOSE_WRITER || self->trick == SHUT_WRITER) self->handle = crt_stream_clone(self->w);
        if (self->trick == CLOSE_READER || self->trick == SHUT_READER) self->handle = crt_stream_clone(self->r);
        CHECK_EQ(crt_spawn_join(cx, &self->writer, writer_run,
            &(side){.s = self->w, .rng = self->rng + 1, .most = self->most, .done = &self->written}), 0);
        CHECK_EQ(crt_spawn_join(cx, &self->reader, reader_run,
            &(side){.s = self->r, .rng = self->rng + 2, .done = &self->read}), 0);
        self->w = self->r = NULL;   // theirs
        if (pick(&self->rng, 2)) CRT_AWAIT(crt_sleep(cx, CRT_US(pick(&self->rng, 2000))));
        if (self->handle && pick(&self->rng, 4) == 0)
            CHECK_EQ(crt_spawn_blocking(cx, NULL, close_elsewhere, crt_stream_clone(self->handle)), 0);
        CRT_AWAIT(self->e = play(self, cx));
        crt_close(&self->handle);
        CRT_AWAIT(self->e = crt_join(cx, &self->writer, NULL));
        CHECK(self->e == 0 || (self->e == CRT_ECANCELED && self->trick == ABORT_WRITER));
        CRT_AWAIT(self->e = crt_join(cx, &self->reader, NULL));
        CHECK(self->e == 0 || (self->e == CRT_ECANCELED && self->trick == ABORT_READER));
        CHECK(get(&self->read) <= get(&self->written));
        if (self->trick == NONE || self->trick == CLOSE_WRITER || self->trick == CLOSE_READER) {
            CHECK_EQ(get(&self->written), (long)self->most);
            CHECK_EQ(get(&self->read), (long)self->most);
        }
        // A writer that is ended loses nothing of what it had written, but by a reset.
        if (self->trick == ABORT_WRITER || self->trick == SHUT_WRITER) CHECK_EQ(get(&self->read), get(&self->written));
        if (get(&self->written) < (long)self->most) add(&cut_short, 1);
        add(&bytes, get(&self->read));
        add(&talks[self->how], 1);
        add(&tricks[self->trick], 1);
    }
    CRT_FINALLY
        CHECK(!self->w && !self->r && !self->handle && !self->writer && !self->reader);
    CRT_END;
}

static uint64_t seed = 1;
static int seconds = 5, workers = 4;
typedef struct root {
    crt_frame co;
    crt_join_set set;
    crt_addr addr;
    crt_poll r;
    int i;
} root;
static crt_poll root_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &listener));
    CHECK_EQ(self->r, 0);
    CHECK_EQ(crt_listener_local_addr(listener, &self->addr), 0);
    snprintf(port, sizeof port, "127.0.0.1:%d", crt_addr_port(&self->addr));
    for (self->i = 0; self->i < TALKS; self->i++)
        CHECK_EQ(crt_join_set_spawn(cx, &self->set, talk_run,
            &(talk){.rng = (seed + (uint64_t)self->i) * 0x9E3779B97F4A7C15u + 1}), 0);
    CRT_AWAIT(crt_sleep(cx, CRT_SEC(seconds)));
    __atomic_store_n(&over, true, __ATOMIC_RELAXED);
    for (self->i = 0; self->i < TALKS; self->i++) {
        CRT_AWAIT(self->r = crt_join_set_next(cx, &self->set, NULL));
        CHECK_EQ(self->r, 0);
    }
    CRT_FINALLY
        crt_close(&listener);
        crt_join_set_drop(&self->set);
    CRT_END;
}
static crt_runtime *rt;
static bool ended;   // atomic
static void *watchdog(void *unused)
{
    long last = -1;
    for (int still = 0; !__atomic_load_n(&ended, __ATOMIC_ACQUIRE); test_pause_us(100000)) {
        long now = get(&moves);
        still = now == last ? still + 1 : 0;
        last = now;
        if (still < 200) continue;
        fprintf(stderr, "no progress for 20 s\n");
        crt_dump(rt, stderr);
        printf("0 passed, 1 failed\n");
        fflush(NULL);
        _exit(3);
    }
    return unused;
}
static void talks_end_as_they_should(void)
{
    pthread_t dog;
    int before = test_fd_count();
    test__set_alarm(0);   // the watchdog looks
    CHECK_EQ(crt_runtime_new(&(crt_config){.worker_threads = (uint32_t)workers, .seed = seed}, &rt), 0);
    pthread_create(&dog, NULL, watchdog, NULL);
    CHECK_EQ(crt_block_on(rt, root_run, &(root){.i = 0}), 0);
    CHECK_EQ(crt_runtime_shutdown(rt, CRT_FOREVER), 0);
    crt_runtime_drop(&rt);
    __atomic_store_n(&ended, true, __ATOMIC_RELEASE);
    pthread_join(dog, NULL);
    CHECK_EQ(test_fd_count(), before);
    for (int i = 0; i < HOWS; i++) CHECK(get(&talks[i]) > 0);
    for (int i = 0; i < TRICKS; i++) CHECK(get(&tricks[i]) > 0);
    CHECK(get(&cut_short) > 0 && get(&gave_up) > 0);
    printf("%ld talks over TCP, %ld over Unix pairs, %ld over pipes, %ld in memory: %ld KiB, %ld cut short, %ld waits given up\n",
        get(&talks[TCP]), get(&talks[UNIX]), get(&talks[PIPE]), get(&talks[MEMORY]), get(&bytes) / 1024, get(&cut_short),
        get(&gave_up));
}
int main(int argc, char **argv)
{
    if (argc > 1) seconds = atoi(argv[1]);
    if (argc > 2) workers = atoi(argv[2]);
    if (argc > 3) seed = strtoull(argv[3], NULL, 0);
    if (seconds < 1 || workers < 1) {
        fprintf(stderr, "use: stress_io [SECONDS] [WORKERS] [SEED]\n");
        return 2;
    }
    test_init(1, argv);
    TEST(talks_end_as_they_should);
    return test_end();
}
