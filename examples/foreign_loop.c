// foreign_loop.c: crt inside a loop that is not its own.
//
// Many programs have a loop already: poll() over their own descriptors, or the one of a
// toolkit. crt moves in as one more descriptor and one more time limit:
//
//     crt_runtime_turn             runs what is ready, and returns
//     crt_runtime_poll_fd          is readable when there is something to run again
//     crt_runtime_next_deadline    says after how long there is, without any descriptor
//
// The job here: lines that come in on standard input, which the loop reads itself, go out
// to everybody who has connected over TCP, which is crt's affair. Try it:
//
//     (while sleep 1; do date; done) | ./foreign_loop 7002        and: nc 127.0.0.1 7002
//     ./foreign_loop --check       listeners and lines of its own, and ends by itself
//
// It ends when standard input does, and those who listen have read the rest; who takes too
// long for a line is dropped. Everything runs on this one thread.

#define CRT_IMPLEMENTATION
#include "../crt.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define WRITE_TIMEOUT CRT_SEC(5)
enum { LINE = 256, BACKLOG = 64, LISTENERS = 3, LINES = 20 };

typedef struct line {
    size_t n;
    char text[LINE];
} line;

// ---- What crt does: one task accepts, one serves each listener ---------------------

typedef struct hub {
    crt_broadcast_tx *lines;   // from the loop to every listener
    int served, serving, lost;
    int guests;                // with --check: clients that have not ended
    crt_addr addr;             // where it listens; len 0: not yet
    bool talks;                // not with --check
    crt_duration beat;         // after so long without a line, a mark for the listeners
} hub;

typedef struct listener {
    crt_frame co;
    hub *hub;
    crt_stream *peer;
    crt_broadcast_rx *lines;
    line line;
    crt_timer timer;
    uint64_t lagged;
    crt_poll got, n;
} listener;

static crt_poll listener_run(void *frame, crt_cx *cx)
{
    listener *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->got = crt_timeout(cx, &self->timer, self->hub->beat,
            crt_broadcast_recv(cx, self->lines, &self->line, &self->lagged)));
        if (self->got == CRT_ETIMEDOUT) {
            self->line.n = (size_t)snprintf(self->line.text, LINE, "(nothing new)\n");
        } else if (self->got == CRT_ELAGGED) {   // it reads too slowly: told, not waited for
            self->hub->lost += (int)self->lagged;
            self->line.n = (size_t)snprintf(self->line.text, LINE, "(%llu lines were lost)\n",
                                            (unsigned long long)self->lagged);
        } else if (self->got < 0) {
            break;   // CRT_ECLOSED: standard input has ended, and everything was sent
        }
        CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, WRITE_TIMEOUT,
            crt_write_all(cx, self->peer, self->line.text, self->line.n)));
        if (self->n == -EPIPE || self->n == CRT_ECONNRESET || self->n == CRT_ETIMEDOUT) CRT_RETURN(0);
        if (self->n < 0) CRT_RETURN(self->n);
    }
    CRT_AWAIT(self->n = crt_shutdown(cx, self->peer));
    CRT_FINALLY
        crt_broadcast_rx_drop(&self->lines);
        crt_close(&self->peer);
        self->hub->serving--;
    CRT_END;
}

typedef struct server {
    crt_frame co;
    hub *hub;
    const char *address;
    char bound[64];
    crt_listener *listener;
    crt_stream *peer;
    crt_broadcast_rx *lines;
    crt_poll r;
} server;

static crt_poll server_run(void *frame, crt_cx *cx)
{
    server *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, self->address, NULL, &self->listener));
    if (self->r < 0) CRT_RETURN(self->r);
    crt_local_addr(self->listener, &self->hub->addr);
    if (self->hub->talks && crt_addr_format(&self->hub->addr, self->bound, sizeof self->bound) > 0) {
        printf("%s: connect, and type here\n", self->bound);
        fflush(stdout);
    }
    for (;;) {
        CRT_AWAIT(self->r = crt_accept(cx, self->listener, &self->peer, NULL));
        if (self->r < 0) CRT_RETURN(self->r);
        if (crt_broadcast_subscribe(self->hub->lines, &self->lines) < 0 ||
            crt_spawn(cx, listener_run, &(listener){.hub = self->hub, .peer = self->peer, .lines = self->lines}) < 0) {
            crt_broadcast_rx_drop(&self->lines);
            crt_close(&self->peer);
            continue;
        }
        self->hub->served++;
        self->hub->serving++;
    }
    CRT_FINALLY
        crt_close(&self->listener);
    CRT_END;
}

// ---- The foreign loop -----------------------------------------------------------------

typedef struct loop {
    crt_runtime *rt;
    crt_join_handle *server;
    hub hub;
    int in;           // where lines come from
    bool ended;       // and no more do
    int lines, rounds;
    line line;        // as far as it has come
} loop;

// Hands the line to crt. A call from outside: it wakes the listeners, and the next turn runs them.
static void send_line(loop *l)
{
    (void)crt_broadcast_send(l->hub.lines, &l->line);   // CRT_ECLOSED: nobody listens
    l->lines++;
    l->line.n = 0;
}
// Cuts what has arrived into lines.
static void read_lines(loop *l)
{
    char bytes[1024];
    ssize_t n = read(l->in, bytes, sizeof bytes);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
    for (ssize_t i = 0; i < n; i++) {
        l->line.text[l->line.n++] = bytes[i];
        if (bytes[i] == '\n' || l->line.n == LINE) send_line(l);
    }
    if (n > 0) return;
    if (l->line.n > 0) send_line(l);   // the last one needs no end
    l->ended = true;
    crt_broadcast_tx_drop(&l->hub.lines);   // listeners end when they have sent the rest
}
// For poll(): milliseconds, rounded up, so that it is not asked in vain.
static int how_long(crt_duration d)
{
    const crt_duration most = CRT_SEC(3600);
    return d == CRT_FOREVER ? -1 : (int)(((d < most ? d : most) + CRT_MS(1) - 1) / CRT_MS(1));
}
static int run(loop *l)
{
    for (;;) {
        int r = crt_runtime_turn(l->rt, CRT_MS(5));   // crt gets 5 ms; the rest of the program is in a hurry too
        if (r < 0) return r;
        if (crt_is_finished(l->server)) return 0;     // it says why when it is joined
        // Looked at between the turn and the poll: the turn may have been the last.
        if (l->ended && !l->hub.serving && !l->hub.guests) return 0;
        // crt's descriptor, and those of everybody else in this program.
        struct pollfd fds[] = {
            {.fd = (int)crt_runtime_poll_fd(l->rt), .events = POLLIN},
            {.fd = l->ended ? -1 : l->in, .events = POLLIN},
        };
        if (poll(fds, 2, how_long(crt_runtime_next_deadline(l->rt))) < 0 && errno != EINTR) return -errno;
        l->rounds++;
        if (fds[1].revents) read_lines(l);
    }
    return 0;
}

// ---- --check: what others do to it ------------------------------------------------------

typedef struct check {
    int pipe;
    int heard[LISTENERS], marks[LISTENERS];
    bool in_order;
} check;

// Writes lines into the loop's pipe, with a long pause in the middle.
typedef struct feeder {
    crt_frame co;
    hub *hub;
    check *check;
    int i;
} feeder;

static bool feed(int pipe, int number)
{
    char text[32];
    int n = snprintf(text, sizeof text, "line %d\n", number);
    return write(pipe, text, (size_t)n) == n;
}
static crt_poll feeder_run(void *frame, crt_cx *cx)
{
    feeder *self = frame;
    CRT_BEGIN(self, cx);
    while (self->hub->served < LISTENERS) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    for (self->i = 0; self->i < LINES; self->i++) {
        if (!feed(self->check->pipe, self->i)) CRT_RETURN(-EIO);
        CRT_AWAIT(crt_sleep(cx, self->i == LINES / 2 ? CRT_MS(150) : CRT_MS(2)));
    }
    CRT_FINALLY
        close(self->check->pipe);
    CRT_END;
}

typedef struct client {
    crt_frame co;
    hub *hub;
    check *check;
    int id, number;
    crt_stream *peer;
    crt_reader reader;
    char *text, address[64];
    crt_poll n;
} client;

static crt_poll client_run(void *frame, crt_cx *cx)
{
    client *self = frame;
    CRT_BEGIN(self, cx);
    while (!self->hub->addr.len) CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
    crt_addr_format(&self->hub->addr, self->address, sizeof self->address);
    CRT_AWAIT(self->n = crt_tcp_connect(cx, self->address, &self->peer));
    if (self->n < 0) CRT_RETURN(self->n);
    crt_reader_init(&self->reader, self->peer, NULL, 0);
    for (;;) {
        CRT_AWAIT(self->n = crt_reader_read_line(cx, &self->reader, LINE, &self->text));
        if (self->n < 0) break;
        if (self->text[0] == '(') {
            self->check->marks[self->id]++;
        } else {
            if (sscanf(self->text, "line %d", &self->number) != 1 || self->number != self->check->heard[self->id])
                self->check->in_order = false;
            self->check->heard[self->id]++;
        }
    }
    CRT_RETURN(self->n == CRT_ECLOSED ? 0 : self->n);   // the server has shut down its side
    CRT_FINALLY
        crt_reader_drop(&self->reader);
        crt_close(&self->peer);
        self->hub->guests--;
    CRT_END;
}
static int begin_check(loop *l, crt_handle *h, check *c)
{
    int fd[2], e = 0;
    if (pipe(fd)) return -errno;
    l->in = fd[0];
    c->pipe = fd[1];
    c->in_order = true;
    l->hub.beat = CRT_MS(40);
    for (int i = 0; i < LISTENERS && !e; i++) {
        e = crt_handle_spawn(h, client_run, &(client){.hub = &l->hub, .check = c, .id = i});
        l->hub.guests += !e;
    }
    return e ? e : crt_handle_spawn(h, feeder_run, &(feeder){.hub = &l->hub, .check = c});
}
static int end_check(const loop *l, const check *c)
{
    bool right = c->in_order && l->lines == LINES;
    for (int i = 0; i < LISTENERS; i++) {
        // The pause of 150 ms is time for three marks, on a busy machine for one.
        printf("listener %d heard %d lines, and %s\n", i, c->heard[i], c->marks[i] >= 1 ? "the pause" : "no pause");
        right = right && c->heard[i] == LINES && c->marks[i] >= 1;
    }
    // A loop that is asked in vain goes round thousands of times in these 200 ms.
    bool calm = l->rounds < 40 * LINES;
    if (!calm) printf("the loop went round %d times\n", l->rounds);
    printf("%s\n", right && calm ? "as it should be" : "WRONG");
    return right && calm ? 0 : 1;
}

// The number that is all of the text, from 0 to max; -1: it is no such number.
static long number(const char *text, long max)
{
    char *end;
    const long n = strtol(text, &end, 10);
    return *text && !*end && n >= 0 && n <= max ? n : -1;
}

int main(int argc, char **argv)
{
    static loop l;
    static check c;
    crt_config config = {.flavor = CRT_CURRENT_THREAD};
    const bool checks = argc > 1 && !strcmp(argv[1], "--check");
    const long port = checks ? 0 : argc > 1 ? number(argv[1], 65535) : 7002;
    if (argc > 2 || port < 0) return fprintf(stderr, "usage: foreign_loop [port | --check]\n"), 2;
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%ld", port);
    l.hub.beat = CRT_SEC(10);
    l.hub.talks = !checks;
    int e = crt_runtime_new(&config, &l.rt);
    if (e) return 1;
    crt_handle *h = crt_runtime_handle(l.rt);
    e = crt_broadcast_new(sizeof(line), BACKLOG, &l.hub.lines);
    if (!e) e = crt_handle_spawn_join(h, &l.server, server_run, &(server){.hub = &l.hub, .address = address});
    if (!e && checks) e = begin_check(&l, h, &c);
    if (!e) e = run(&l);
    if (!e && crt_is_finished(l.server)) {   // not before its time, but for an error
        intptr_t why = 0;
        e = crt_join_blocking(&l.server, &why);
        if (!e) e = (int)why;
    }
    crt_detach(&l.server);
    crt_handle_drop(&h);
    crt_broadcast_tx_drop(&l.hub.lines);
    crt_runtime_drop(&l.rt);   // cancels what still runs: the server, which waits for more
    if (e) fprintf(stderr, "foreign_loop: %s\n", crt_strerror(e));
    if (!e && checks) e = end_check(&l, &c);
    if (!e && !checks) printf("%d lines to %d listeners, %d lost on the way\n", l.lines, l.hub.served, l.hub.lost);
    return e != 0;
}
