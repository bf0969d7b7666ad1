// chat.c: a chat for nc, over a broadcast channel, on the loopback interface.
//
//     ./chat [port]           (7001; 0: any)
//     nc 127.0.0.1 7001       in as many terminals as you like
//
// Say your name, then talk. /names, /me does something, /quit. The room is one broadcast
// channel that keeps the last 64 lines: who reads more slowly than others talk is told
// how many lines were lost and goes on with the oldest that is kept; nobody ever waits
// for the slowest. A line is made once, counted, and shared. Reading and writing are two
// tasks for each guest, each with a handle of its own on the connection.

#define CRT_IMPLEMENTATION
#include "../crt.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 512, NAME_MAX_BYTES = 20, GUESTS = 200, KEPT = 64 };
#define NAME_TIMEOUT CRT_SEC(60)
#define IDLE_TIMEOUT CRT_SEC(3600)
#define WRITE_TIMEOUT CRT_SEC(20)

// ---- A line, shared by all who have yet to read it ------------------------------

typedef struct line {
    atomic_uint refs;
    uint32_t from;    // the guest who need not see it; 0: everybody sees it
    uint32_t to;      // the only one who sees it; 0: all others
    size_t length;
    char text[];
} line;

static void line_drop(line *l)
{
    if (l && atomic_fetch_sub(&l->refs, 1) == 1) free(l);
}
// What the channel does with the pointers in it.
static void on_clone(void *copy, void *user) { (void)user; atomic_fetch_add(&(*(line **)copy)->refs, 1); }
static void on_drop(void *elem, void *user) { (void)user; line_drop(*(line **)elem); }

static struct {
    crt_broadcast_tx *room;
    crt_cancel_token *stop;
    crt_task_tracker *guests;
    crt_semaphore slots;
    pthread_mutex_t lock;   // of the names
    char names[GUESTS + 1][NAME_MAX_BYTES + 1];
    atomic_ullong lines, lost;
} app = {.lock = PTHREAD_MUTEX_INITIALIZER};

// Says it to all but `from`, or to `to` alone.
static void say_to(uint32_t to, uint32_t from, const char *before, const char *name, const char *between, const char *text)
{
    const size_t room = strlen(before) + strlen(name) + strlen(between) + strlen(text) + 2;
    line *l = malloc(sizeof *l + room);
    if (!l) return;
    atomic_init(&l->refs, 1);
    l->from = from;
    l->to = to;
    l->length = (size_t)snprintf(l->text, room, "%s%s%s%s\n", before, name, between, text);
    atomic_fetch_add(&app.lines, 1);
    if (crt_broadcast_send(app.room, &l) < 0) line_drop(l);   // nobody is there
}
static void say(uint32_t from, const char *before, const char *name, const char *between, const char *text)
{
    say_to(0, from, before, name, between, text);
}
// The number of a free place, now under that name; 0: it is taken, or is no name.
static uint32_t take_name(const char *name)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    uint32_t place = 0;
    bool taken = false;
    const size_t n = strlen(name);
    if (n == 0 || n > NAME_MAX_BYTES || strspn(name, good) != n) return 0;
    pthread_mutex_lock(&app.lock);
    for (uint32_t i = 1; i <= GUESTS; i++) {
        if (app.names[i][0] == '\0') place = i;
        taken |= strcmp(app.names[i], name) == 0;
    }
    if (taken) place = 0;
    if (place) memcpy(app.names[place], name, n + 1);
    pthread_mutex_unlock(&app.lock);
    return place;
}
static void free_name(uint32_t place)
{
    pthread_mutex_lock(&app.lock);
    app.names[place][0] = '\0';
    pthread_mutex_unlock(&app.lock);
}
static void say_names(uint32_t to)
{
    char names[8 + GUESTS * (NAME_MAX_BYTES + 1)] = "* here:";
    size_t used = strlen(names);
    pthread_mutex_lock(&app.lock);
    for (uint32_t i = 1; i <= GUESTS; i++)
        if (app.names[i][0]) used += (size_t)snprintf(names + used, sizeof names - used, " %s", app.names[i]);
    pthread_mutex_unlock(&app.lock);
    say_to(to, 0, names, "", "", "");
}
// No control sequences for other people's terminals: neither those of ASCII nor the ones
// from 0x80 to 0x9f, be they written in UTF-8 (0xc2, 0x9b) or as bytes of no character.
static void disarm(char *text)
{
    int due = 0;   // bytes of a character of several
    for (unsigned char *p = (unsigned char *)text; *p; p++) {
        const bool inside = due > 0 && (*p & 0xc0) == 0x80;
        due = inside ? due - 1 : *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : *p >= 0xc0 ? 1 : 0;
        if (*p < ' ' || *p == 127 || (*p >= 0x80 && *p < 0xa0 && (!inside || p[-1] == 0xc2))) *p = '?';
    }
}

// ---- The writing half: from the room to the guest -------------------------------

typedef struct writer {
    crt_frame co;
    crt_stream *peer;
    crt_broadcast_rx *room;
    crt_cancel_token *gone;   // the guest has left
    uint32_t place;
    line *l;
    uint64_t lagged;
    char note[64];
    CRT_SELECT(2) sel;
    crt_timer timer;
    crt_poll r, n, which;
} writer;

static crt_poll writer_run(void *frame, crt_cx *cx)
{
    writer *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->which = crt_select_biased(cx, &self->sel,
            crt_on(cx, 0, self->r = crt_broadcast_recv(cx, self->room, &self->l, &self->lagged)),
            crt_on(cx, 1, crt_cancelled(cx, self->gone))));   // after what was said until then
        if (self->which == 1 || self->r == CRT_ECLOSED) break;
        if (self->r == CRT_ELAGGED) {
            atomic_fetch_add(&app.lost, self->lagged);
            snprintf(self->note, sizeof self->note, "* you missed %llu lines\n", (unsigned long long)self->lagged);
            CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, WRITE_TIMEOUT,
                crt_write_all(cx, self->peer, self->note, strlen(self->note))));
            if (self->n < 0) break;
            continue;
        }
        self->n = 0;
        if (self->l->from != self->place && (self->l->to == 0 || self->l->to == self->place)) {
            CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, WRITE_TIMEOUT,
                crt_write_all(cx, self->peer, self->l->text, self->l->length)));
        }
        line_drop(self->l);
        self->l = NULL;
        if (self->n < 0) break;
    }
    CRT_FINALLY
        line_drop(self->l);
        self->l = NULL;
        if (self->peer) (void)crt_shutdown_read(cx, self->peer);   // the reading half ends, too
        crt_broadcast_rx_drop(&self->room);
        crt_cancel_token_drop(&self->gone);
        crt_close(&self->peer);
    CRT_END;
}

// ---- The reading half: a guest --------------------------------------------------

typedef struct guest {
    crt_frame co;
    crt_stream *peer;
    crt_reader in;
    crt_cancel_token *gone;
    uint32_t place;
    char name[NAME_MAX_BYTES + 1];
    char *text;
    CRT_SELECT(2) sel;
    crt_timer timer;
    crt_instant deadline;
    crt_poll n, m, which;
} guest;

static int start_writer(guest *self, crt_cx *cx)
{
    writer w = {.peer = crt_stream_clone(self->peer), .gone = crt_cancel_token_clone(self->gone), .place = self->place};
    int e = crt_broadcast_subscribe(app.room, &w.room);
    if (e == 0) e = crt_task_tracker_spawn(cx, app.guests, writer_run, &w);
    if (e == 0) return 0;
    crt_broadcast_rx_drop(&w.room);
    crt_cancel_token_drop(&w.gone);
    crt_close(&w.peer);
    return e;
}

static const char hello[] = "Your name? (letters, digits, _ and -)\n";
static const char again[] = "* taken, or not a name. Your name?\n";

static crt_poll guest_run(void *frame, crt_cx *cx)
{
    guest *self = frame;
    CRT_BEGIN(self, cx);
    crt_reader_init(&self->in, self->peer, NULL, LINE_MAX_BYTES + 2);
    self->deadline = crt_now(cx) + NAME_TIMEOUT;
    CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, WRITE_TIMEOUT, crt_write_all(cx, self->peer, hello, sizeof hello - 1)));
    while (self->n >= 0) {
        CRT_AWAIT(self->which = crt_select_biased(cx, &self->sel,
            crt_on(cx, 0, crt_cancelled(cx, app.stop)),
            crt_on(cx, 1, self->m = crt_timeout_at(cx, &self->timer, self->deadline,
                self->n = crt_reader_read_line(cx, &self->in, LINE_MAX_BYTES, &self->text)))));
        if (self->which == 0) break;
        self->n = self->m;
        if (self->n == CRT_EMSGSIZE) {   // pass it over
            CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, WRITE_TIMEOUT, crt_reader_skip_until(cx, &self->in, '\n')));
            if (self->n < 0) break;
            if (self->place) say_to(self->place, 0, "* ", "", "too long a line", "");
            continue;
        }
        if (self->n < 0) break;   // gone, or silent for too long
        disarm(self->text);
        if (!self->place) {
            self->place = take_name(self->text);
            if (!self->place) {
                CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, WRITE_TIMEOUT, crt_write_all(cx, self->peer, again, sizeof again - 1)));
                continue;   // the deadline stays
            }
            snprintf(self->name, sizeof self->name, "%s", self->text);
            self->gone = crt_cancel_token_new();
            if (!self->gone || start_writer(self, cx) < 0) break;
            say(0, "* ", self->name, " is here", "");
        } else if (strcmp(self->text, "/quit") == 0) {
            break;
        } else if (strcmp(self->text, "/names") == 0) {
            say_names(self->place);
        } else if (strncmp(self->text, "/me ", 4) == 0) {
            say(self->place, "* ", self->name, " ", self->text + 4);
        } else if (self->text[0]) {
            say(self->place, "<", self->name, "> ", self->text);
        }
        self->deadline = crt_now(cx) + IDLE_TIMEOUT;
    }
    CRT_FINALLY
        crt_cancel_token_drop_guard(&self->gone);   // the writing half ends, too
        if (self->place) {
            free_name(self->place);
            say(0, "* ", self->name, " has left", "");
        }
        self->place = 0;
        crt_reader_drop(&self->in);
        crt_close(&self->peer);
        crt_semaphore_release(&app.slots, 1);
    CRT_END;
}

// ---- The server -----------------------------------------------------------------

typedef struct acceptor {
    crt_frame co;
    crt_listener *listener;
    crt_stream *peer;
    bool has_slot;
    crt_poll r;
} acceptor;

static crt_poll acceptor_run(void *frame, crt_cx *cx)
{
    acceptor *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(crt_semaphore_acquire(cx, &app.slots, 1));
        self->has_slot = true;
        CRT_AWAIT(self->r = crt_accept(cx, self->listener, &self->peer, NULL));
        if (self->r == 0) self->r = crt_task_tracker_spawn(cx, app.guests, guest_run, &(guest){.peer = self->peer});
        if (self->r == 0) {
            self->peer = NULL;
        } else {
            crt_close(&self->peer);
            crt_semaphore_release(&app.slots, 1);
        }
        self->has_slot = false;
        if (self->r < 0) CRT_AWAIT(crt_sleep(cx, CRT_MS(20)));
    }
    CRT_FINALLY
        crt_close(&self->peer);
        crt_close(&self->listener);
        if (self->has_slot) crt_semaphore_release(&app.slots, 1);
        self->has_slot = false;
    CRT_END;
}

typedef struct server {
    crt_frame co;
    char address[32];
    acceptor acceptor;
    CRT_SELECT(3) sel;
    crt_timer timer;
    crt_poll r, which;
} server;

static crt_poll server_run(void *frame, crt_cx *cx)
{
    server *self = frame;
    char text[64] = "?";
    crt_addr local;
    CRT_BEGIN(self, cx);
    app.stop = crt_cancel_token_new();
    app.guests = crt_task_tracker_new();
    crt_semaphore_init(&app.slots, GUESTS);
    self->r = crt_broadcast_new(sizeof(line *), KEPT, &app.room);
    if (self->r == 0) crt_broadcast_set_ops(app.room, &(crt_elem_ops){.clone = on_clone, .drop = on_drop});
    if (self->r < 0 || !app.stop || !app.guests) CRT_RETURN(CRT_ENOMEM);
    // The first call for a signal makes it heard, and is the only one that can fail.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, 0, crt_ctrl_c(cx)));
    if (self->r == CRT_ETIMEDOUT) CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, 0, crt_signal_recv(cx, SIGTERM)));
    if (self->r != CRT_ETIMEDOUT) {
        fprintf(stderr, "signals: %s\n", crt_strerror((int)self->r));
        CRT_RETURN(self->r);
    }
    CRT_AWAIT(self->r = crt_tcp_listen(cx, self->address, NULL, &self->acceptor.listener));
    if (self->r < 0) {
        fprintf(stderr, "%s: %s\n", self->address, crt_strerror((int)self->r));
        CRT_RETURN(self->r);
    }
    if (crt_local_addr(self->acceptor.listener, &local) == 0) crt_addr_format(&local, text, sizeof text);
    printf("chat on %s, Ctrl-C to stop\n", text);
    CRT_AWAIT(self->which = crt_select(cx, &self->sel,
        crt_on(cx, 0, self->r = acceptor_run(&self->acceptor, cx)),
        crt_on(cx, 1, crt_ctrl_c(cx)),
        crt_on(cx, 2, crt_signal_recv(cx, SIGTERM))));
    say(0, "* ", "", "the chat closes", "");
    CRT_AWAIT(crt_sleep(cx, CRT_MS(50)));   // for that line to be written
    crt_cancel_token_cancel(app.stop);
    crt_task_tracker_close(app.guests);
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(1), crt_task_tracker_wait(cx, app.guests)));
    printf("stopped, %llu lines said, %llu lost by the slow\n", (unsigned long long)atomic_load(&app.lines),
           (unsigned long long)atomic_load(&app.lost));
    CRT_RETURN(0);
    CRT_FINALLY
        crt_close(&self->acceptor.listener);
    CRT_END;
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
    const long port = argc > 1 ? number(argv[1], 65535) : 7001;
    if (argc > 2 || port < 0) {
        fprintf(stderr, "usage: chat [port]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    crt_runtime *rt;
    int e = crt_runtime_new(NULL, &rt);
    if (e < 0) {
        fprintf(stderr, "runtime: %s\n", crt_strerror(e));
        return 1;
    }
    server frame = {0};
    snprintf(frame.address, sizeof frame.address, "127.0.0.1:%ld", port);
    e = (int)crt_block_on(rt, server_run, &frame);
    crt_runtime_drop(&rt);   // cancels who is still there, and waits for that
    crt_broadcast_tx_drop(&app.room);
    crt_cancel_token_drop(&app.stop);
    crt_task_tracker_drop(&app.guests);
    return e < 0;
}
