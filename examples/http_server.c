// http_server.c: a small HTTP/1.1 server, on the loopback interface.
//
//     ./http_server [port] [workers] [multi_thread|current_thread]
//
//     /              a page that shows what the runtime is doing
//     /stats         the numbers on that page, as JSON
//     /sleep?ms=N    answers after N ms (at most 10,000); a timer, not a thread
//     /blocking      computes on the blocking pool for a moment, then answers
//
// What makes it a server and not a toy:
//   - keep-alive and pipelining; a request may arrive byte by byte;
//   - every wait for a peer has a deadline, every buffer a size, and there is a
//     limit on connections: a slow or hostile client costs little, and not for long;
//   - an idle connection owns no buffer;
//   - Ctrl-C (or SIGTERM) stops accepting, lets running requests finish for half a
//     second, then cancels the rest and exits with status 0.
//
// Read from the bottom: main, server, acceptor, conn, answer, then the parser.

#define CRT_IMPLEMENTATION
#include "../crt.h"

#include <assert.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#ifndef _WIN32
#include <sys/resource.h>
#endif
#include <time.h>

enum {
    HEAD_MAX = 8 * 1024,      // of one request; longer: 431
    PAGE_MAX = 10 * 1024,     // the longest body that we send
    ANSWER_MAX = PAGE_MAX + 512,
    OUT_MAX = 24 * 1024,      // answers to pipelined requests leave together
    SLEEP_MS_MAX = 10000,
    CONNECTIONS_MAX = 10000
};
#define IDLE_TIMEOUT CRT_SEC(30)     // between two requests
#define HEAD_TIMEOUT CRT_SEC(5)      // from the first byte of a request to its end
#define WRITE_TIMEOUT CRT_SEC(10)    // for a peer that does not read its answer
#define LINGER_TIMEOUT CRT_MS(250)   // see conn_run
#define STOP_TIMEOUT CRT_MS(500)     // for what is running when we are stopped

// ---- What all tasks share -----------------------------------------------------

static struct {
    crt_runtime *rt;
    const char *flavor;
    crt_instant started;
    crt_cancel_token *stop;   // raised by Ctrl-C
    crt_semaphore slots;      // one for each connection that may be open
    size_t slot_count;
    atomic_llong connections, connections_total, requests, errors;
    char page[PAGE_MAX];
    size_t page_length;
    // The text for the Date header. One task writes the next one each second,
    // and what is being read was published a second ago or less.
    char dates[4][32];
    atomic_uint date;
} app;

// ---- The page -----------------------------------------------------------------
// In three pieces, as C11 promises no string literal longer than 4,095 bytes.

static const char page_style[] =
    "<!doctype html><html lang=en><head><meta charset=utf-8>"
    "<meta name=viewport content='width=device-width,initial-scale=1'>"
    "<link rel=icon href='data:,'><title>crt</title><style>\n"
    ":root{--bg:#f6f7f9;--fg:#1b2430;--dim:#66727f;--card:#fff;--line:#e3e7ec;--hot:#2166d6}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#0f141a;--fg:#e4eaf1;--dim:#8b98a6;"
    "--card:#171e26;--line:#26303b;--hot:#6aa5ff}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);"
    "font:16px/1.5 system-ui,sans-serif}\n"
    "main{max-width:60rem;margin:0 auto;padding:3rem 1.25rem}\n"
    "h1{margin:0;font-size:2.2rem;letter-spacing:-.03em}p{margin:.25rem 0 2rem;color:var(--dim)}\n"
    "#dot{display:inline-block;width:.6em;height:.6em;margin-left:.4em;border-radius:50%;"
    "background:#2fb46b}#dot.off{background:#d64545}\n"
    ".grid{display:grid;gap:.8rem;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr))}\n"
    ".card{padding:.9rem 1.1rem;background:var(--card);border:1px solid var(--line);"
    "border-radius:.7rem}\n"
    ".card b{display:block;font-size:1.6rem;font-weight:650;font-variant-numeric:tabular-nums;"
    "letter-spacing:-.02em}.card span{color:var(--dim);font-size:.85rem}\n"
    "#plot{margin:.8rem 0;padding:1.1rem}#plot svg{display:block;width:100%;height:7rem}\n"
    "polyline{fill:none;stroke:var(--hot);stroke-width:2;vector-effect:non-scaling-stroke}\n"
    "button{margin:0 .5rem .5rem 0;padding:.5rem .9rem;border:1px solid var(--line);"
    "border-radius:.5rem;background:var(--card);color:var(--fg);font:inherit;cursor:pointer}"
    "button:hover{border-color:var(--hot)}\n"
    "output{color:var(--dim);font-family:ui-monospace,monospace;font-size:.85rem}"
    "</style></head>\n";

static const char page_body[] =
    "<body><main><h1>crt<i id=dot></i></h1>\n"
    "<p>Tokio's runtime for C, serving this page. <span id=how></span></p>\n"
    "<div class=grid id=cards></div>\n"
    "<div class=card id=plot><span>requests per second, the last minute: <span id=top></span>"
    "</span><svg viewBox='0 0 60 100' preserveAspectRatio=none><polyline id=line /></svg></div>\n"
    "<button data-get='/sleep?ms=500'>sleep 500 ms</button>"
    "<button data-get='/blocking'>blocking work</button>"
    "<button data-get='/stats' data-times=200>200 requests</button><br><output id=out></output>\n"
    "</main>\n";

static const char page_script[] =
    "<script>\n"
    "const $=id=>document.getElementById(id),n=x=>Number(x).toLocaleString('en'),rates=[];\n"
    "const cards=[['rate','requests / s'],['requests','requests'],['connections',"
    "'open connections'],['tasks_alive','tasks alive'],['polls','polls'],['steals',"
    "'tasks stolen'],['parks','times a worker slept'],['uptime','uptime']];\n"
    "$('cards').innerHTML=cards.map(c=>`<div class=card><b id=${c[0]}>-</b>"
    "<span>${c[1]}</span></div>`).join('');\n"
    "let last;\n"
    "async function tick(){try{\n"
    "  const s=await(await fetch('/stats')).json();\n"
    "  if(last){const dt=(s.uptime_ms-last.uptime_ms)/1000;\n"
    "    s.rate=dt>0?Math.round((s.requests-last.requests)/dt):0;\n"
    "    rates.push(s.rate);if(rates.length>60)rates.shift();}\n"
    "  last=s;const t=Math.floor(s.uptime_ms/1000);\n"
    "  s.uptime=`${Math.floor(t/3600)}:${String(Math.floor(t/60)%60).padStart(2,0)}:"
    "${String(t%60).padStart(2,0)}`;\n"
    "  for(const[k]of cards)if(s[k]!==undefined)$(k).textContent="
    "typeof s[k]=='number'?n(s[k]):s[k];\n"
    "  $('how').textContent=`${s.flavor}, ${s.workers} worker${s.workers==1?'':'s'}.`;\n"
    "  const top=Math.max(10,...rates),x0=60-rates.length;\n"
    "  $('top').textContent='at most '+n(Math.max(0,...rates));\n"
    "  $('line').setAttribute('points',rates.map((r,i)=>`${x0+i+.5},${98-95*r/top}`).join(' '));\n"
    "  $('dot').className='';\n"
    "}catch(e){$('dot').className='off';last=undefined}}\n"
    "tick();setInterval(tick,1000);\n"
    "for(const b of document.querySelectorAll('button'))b.onclick=async()=>{\n"
    "  const t=performance.now(),k=Number(b.dataset.times||1);\n"
    "  try{const r=await Promise.all(Array.from({length:k},()=>fetch(b.dataset.get)"
    ".then(r=>r.text())));\n"
    "    $('out').textContent=`${b.textContent}: ${k>1?k+' answers':r[0].trim()} "
    "in ${Math.round(performance.now()-t)} ms`;\n"
    "  }catch(e){$('out').textContent=String(e)}};\n"
    "</script></body></html>\n";

// ---- Requests -----------------------------------------------------------------

typedef struct span {
    const char *p;
    size_t n;
} span;

typedef enum route { ROUTE_NONE, ROUTE_PAGE, ROUTE_STATS, ROUTE_SLEEP, ROUTE_BLOCKING } route;

// One request, taken apart. The spans point into the connection's buffer.
typedef struct request {
    int status;   // 200, or why it cannot be served
    span method, target, version;
    bool head;         // answer without a body
    bool old;          // HTTP/1.0
    bool keep_alive;   // the peer asked for it
    bool close;        // this is the last request of the connection
    int hosts;
    route route;
    long sleep_ms;
} request;

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool span_is(span s, const char *text)
{
    return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

static bool span_is_nocase(span s, const char *text)
{
    if (s.n != strlen(text)) return false;
    for (size_t i = 0; i < s.n; i++)
        if (lower(s.p[i]) != text[i]) return false;
    return true;
}

// Cuts what comes before the first `by` off *s; the whole of it if there is none.
static span span_cut(span *s, char by)
{
    const char *at = s->n > 0 ? memchr(s->p, by, s->n) : NULL;
    const span before = {s->p, at ? (size_t)(at - s->p) : s->n};
    const size_t gone = before.n + (at ? 1 : 0);
    s->p += gone;
    s->n -= gone;
    return before;
}

static span span_trim(span s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) s.p++, s.n--;
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) s.n--;
    return s;
}

// A method or the name of a field: visible characters that separate nothing.
static bool span_is_token(span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 127 || strchr("\"(),/:;<=>?@[\\]{}", s.p[i])) return false;
    return s.n > 0;
}

// All digits and at most `max`: the number, or -1.
static long span_number(span s, long max)
{
    long value = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return -1;
        value = value * 10 + (s.p[i] - '0');
        if (value > max) return -1;
    }
    return s.n > 0 ? value : -1;
}

// The next line without its end. False: the line is not there completely.
static bool next_line(const char **at, const char *end, span *line)
{
    const char *newline = *at < end ? memchr(*at, '\n', (size_t)(end - *at)) : NULL;
    if (!newline) return false;
    *line = (span){*at, (size_t)(newline - *at)};
    if (line->n > 0 && line->p[line->n - 1] == '\r') line->n--;
    *at = newline + 1;
    return true;
}

// A host and perhaps a port, or nothing: is each byte one that may be there?
static bool span_is_authority(span s)
{
    static const char more[] = "-._~%!$&'()*+,;=:";
    const bool brackets = s.n > 0 && s.p[0] == '[';   // an IPv6 address: the only place for more than one colon
    span host;
    if (brackets) {
        s.p++, s.n--;
        host = span_cut(&s, ']');
        if (host.n == 0 || s.p[-1] != ']' || (s.n > 0 && s.p[0] != ':')) return false;
        if (s.n > 0) s.p++, s.n--;
    } else {
        host = span_cut(&s, ':');
    }
    for (size_t i = 0; i < host.n; i++) {
        const char c = host.p[i];
        if (!(lower(c) >= 'a' && lower(c) <= 'z') && !(c >= '0' && c <= '9')
            && (c == '\0' || !strchr(more, c))) return false;
    }
    for (; s.n > 0; s.p++, s.n--)
        if (s.p[0] < '0' || s.p[0] > '9') return false;
    return true;
}

// "HTTP/1.1": 200. What is later than that, but HTTP/1, is served as 1.1. 505: another HTTP. 400: something else.
static int check_version(span v)
{
    if (v.n != 8 || memcmp(v.p, "HTTP/", 5) != 0 || v.p[5] < '0' || v.p[5] > '9'
        || v.p[6] != '.' || v.p[7] < '0' || v.p[7] > '9') return 400;
    return v.p[5] == '1' ? 200 : 505;
}

// "GET /sleep?ms=5 HTTP/1.1": a status.
static int parse_request_line(span line, request *r)
{
    r->method = span_cut(&line, ' ');
    r->target = span_cut(&line, ' ');
    r->version = line;
    if (!span_is_token(r->method) || r->target.n == 0) return 400;
    for (size_t i = 0; i < r->target.n; i++)
        if (r->target.p[i] <= ' ' || r->target.p[i] >= 127) return 400;
    r->head = span_is(r->method, "HEAD");
    r->old = span_is(r->version, "HTTP/1.0");
    return check_version(r->version);
}

// "Connection: close": a status.
static int parse_field(span line, request *r)
{
    const char *colon = memchr(line.p, ':', line.n);
    span name = span_cut(&line, ':'), value = span_trim(line);
    // A space in the name also catches a line that continues the one before.
    if (!colon || !span_is_token(name)) return 400;
    for (size_t i = 0; i < value.n; i++) {
        const unsigned char c = (unsigned char)value.p[i];
        if ((c < ' ' && c != '\t') || c == 127) return 400;
    }
    if (span_is_nocase(name, "host")) {
        r->hosts++;
        if (!span_is_authority(value)) return 400;
    } else if (span_is_nocase(name, "connection")) {
        while (value.n > 0) {
            const span option = span_trim(span_cut(&value, ','));
            if (span_is_nocase(option, "close")) r->close = true;
            if (span_is_nocase(option, "keep-alive")) r->keep_alive = true;
        }
    } else if (span_is_nocase(name, "content-length")) {
        // No route takes a body. We do not look for its end: we answer and close.
        const long length = span_number(value, LONG_MAX / 100);
        if (length < 0) return 400;
        if (length > 0) r->close = true;
    } else if (span_is_nocase(name, "transfer-encoding")) {
        r->close = true;
    }
    return 200;
}

// Which route? A status.
static int find_route(request *r)
{
    span query = r->target;
    if (r->target.n >= 7 && span_is_nocase((span){r->target.p, 7}, "http://")) {   // as to a proxy
        span host = {r->target.p + 7, 0};
        // A slash in the query begins no path.
        while (7 + host.n < r->target.n && !strchr("/?#", host.p[host.n])) host.n++;
        if (host.n == 0 || !span_is_authority(host)) return 400;
        query.p += 7 + host.n, query.n -= 7 + host.n;
        if (query.n == 0 || query.p[0] != '/') query = (span){"/", 1};
    }
    const span path = span_cut(&query, '?');
    if (span_is(path, "/") || span_is(path, "/index.html")) r->route = ROUTE_PAGE;
    else if (span_is(path, "/stats")) r->route = ROUTE_STATS;
    else if (span_is(path, "/sleep")) r->route = ROUTE_SLEEP;
    else if (span_is(path, "/blocking")) r->route = ROUTE_BLOCKING;
    else return 404;
    if (!r->head && !span_is(r->method, "GET")) return 405;
    if (r->route == ROUTE_SLEEP) {
        r->sleep_ms = -1;
        while (query.n > 0) {
            span value = span_cut(&query, '&');
            const span name = span_cut(&value, '=');
            if (span_is(name, "ms")) r->sleep_ms = span_number(value, SLEEP_MS_MAX);
        }
        if (r->sleep_ms < 0) return 400;
    }
    return 200;
}

// Nothing that follows can be trusted: answer, and close.
static size_t bad_request(request *r, int status, size_t n)
{
    r->status = status;
    r->close = true;
    return n;
}

// Reads one request from the n bytes at `in`. How many bytes it took; 0: it is not
// there completely. Starts from the front each time, so a request may arrive in
// any number of pieces and no state is kept; HEAD_MAX bounds the work.
static size_t parse_request(const char *in, size_t n, request *r)
{
    const char *at = in;
    const size_t wait = n < HEAD_MAX ? 0 : n;
    span line;
    *r = (request){.status = 200};
    if (!next_line(&at, in + n, &line)) return wait ? bad_request(r, 431, n) : 0;
    r->status = parse_request_line(line, r);
    if (r->status != 200) return bad_request(r, r->status, n);
    for (;;) {
        if (!next_line(&at, in + n, &line)) return wait ? bad_request(r, 431, n) : 0;
        if (line.n == 0) break;
        r->status = parse_field(line, r);
        if (r->status != 200) return bad_request(r, r->status, n);
    }
    if (r->hosts > 1 || (r->hosts == 0 && !r->old)) return bad_request(r, 400, n);
    if (r->old && !r->keep_alive) r->close = true;
    r->status = find_route(r);
    return (size_t)(at - in);
}

// ---- Answers ------------------------------------------------------------------

// What a connection owns while it is not idle.
typedef struct buffers {
    size_t in_length, out_length;
    char in[HEAD_MAX];
    char out[OUT_MAX];
} buffers;

// The first n bytes have been dealt with.
static void consume(buffers *io, size_t n)
{
    io->in_length -= n;
    memmove(io->in, io->in + n, io->in_length);
}

// They are allowed between requests, and begin none.
static void skip_empty_lines(buffers *io)
{
    size_t n = 0;
    while (n < io->in_length && (io->in[n] == '\r' || io->in[n] == '\n')) n++;
    if (n > 0) consume(io, n);
}

static const char *reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        {200, "OK"}, {400, "Bad Request"}, {404, "Not Found"}, {405, "Method Not Allowed"},
        {408, "Request Timeout"}, {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"}, {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].status == status) return reasons[i].text;
    return "Error";
}

// Puts an answer behind those that wait to be sent. There is room for ANSWER_MAX.
static void put_answer(buffers *io, request *r, const char *type, const char *body, size_t n)
{
    if (crt_cancel_token_is_cancelled(app.stop)) r->close = true;   // it is the last one
    char *out = io->out + io->out_length;
    const size_t room = sizeof io->out - io->out_length;
    const int head = snprintf(out, room,
        "HTTP/1.1 %d %s\r\n"
        "Date: %s\r\n"
        "Content-Type: %s\r\n"
        "Content-Length: %zu\r\n"
        "Cache-Control: no-store\r\n"
        "%s%s\r\n",
        r->status, reason(r->status), app.dates[atomic_load(&app.date) % 4], type, n,
        r->status == 405 ? "Allow: GET, HEAD\r\n" : "",
        r->close ? "Connection: close\r\n" : r->old ? "Connection: keep-alive\r\n" : "");
    assert(head > 0 && (size_t)head + n <= room);
    io->out_length += (size_t)head;
    if (!r->head) {
        memcpy(io->out + io->out_length, body, n);
        io->out_length += n;
    }
    atomic_fetch_add_explicit(&app.requests, 1, memory_order_relaxed);
    if (r->status >= 400) atomic_fetch_add_explicit(&app.errors, 1, memory_order_relaxed);
}

static void put_text(buffers *io, request *r, const char *text)
{
    put_answer(io, r, "text/plain; charset=utf-8", text, strlen(text));
}

static void put_error(buffers *io, request *r)
{
    char text[64];
    snprintf(text, sizeof text, "%d %s\n", r->status, reason(r->status));
    put_text(io, r, text);
}

static void put_stats(buffers *io, request *r, crt_instant now)
{
    char json[768];
    crt_runtime_metrics m = {0};
    crt_metrics(app.rt, &m);
    const int n = snprintf(json, sizeof json,
        "{\"uptime_ms\":%lld,\"flavor\":\"%s\",\"workers\":%u,"
        "\"connections\":%lld,\"connections_total\":%lld,\"connections_max\":%zu,"
        "\"requests\":%lld,\"errors\":%lld,"
        "\"tasks_alive\":%llu,\"tasks_spawned\":%llu,\"polls\":%llu,\"steals\":%llu,"
        "\"parks\":%llu,\"busy_ms\":%llu,\"blocking_threads\":%u,\"bytes_allocated\":%llu}\n",
        (long long)((now - app.started) / 1000000), app.flavor, (unsigned)m.num_workers,
        atomic_load(&app.connections), atomic_load(&app.connections_total), app.slot_count,
        atomic_load(&app.requests), atomic_load(&app.errors),
        (unsigned long long)m.num_alive_tasks, (unsigned long long)m.spawned_tasks_count,
        (unsigned long long)m.worker_poll_count, (unsigned long long)m.worker_steal_count,
        (unsigned long long)m.worker_park_count, (unsigned long long)(m.worker_busy_ns / 1000000),
        (unsigned)m.num_blocking_threads, (unsigned long long)m.bytes_allocated);
    put_answer(io, r, "application/json", json, n > 0 ? (size_t)n : 0);
}

// Some honest work: how many primes are there below `limit`? On the blocking pool,
// because tens of milliseconds on a worker would hold up every other connection.
static intptr_t count_primes(void *arg)
{
    const intptr_t limit = (intptr_t)arg;
    intptr_t count = 0;
    for (intptr_t i = 2; i < limit; i++) {
        intptr_t d = 2;
        while (d * d <= i && i % d != 0) d++;
        if (d * d > i) count++;
    }
    return count;
}

// Answers one request: puts the answer into the buffer. A coroutine of its own,
// awaited by the connection, with a cleanup of its own.
typedef struct answer {
    crt_frame co;
    buffers *io;
    request r;
    crt_join_handle *job;
    intptr_t primes;
    crt_poll n;
} answer;

static crt_poll answer_run(void *frame, crt_cx *cx)
{
    answer *self = frame;
    char text[128];   // a local, as no await comes between writing and reading it
    CRT_BEGIN(self, cx);
    if (self->r.status != 200) {
        put_error(self->io, &self->r);
    } else if (self->r.route == ROUTE_PAGE) {
        put_answer(self->io, &self->r, "text/html; charset=utf-8", app.page, app.page_length);
    } else if (self->r.route == ROUTE_STATS) {
        put_stats(self->io, &self->r, crt_now(cx));
    } else if (self->r.route == ROUTE_SLEEP) {
        CRT_AWAIT(crt_sleep(cx, CRT_MS(self->r.sleep_ms)));
        snprintf(text, sizeof text, "slept %ld ms\n", self->r.sleep_ms);
        put_text(self->io, &self->r, text);
    } else {
        self->n = crt_spawn_blocking(cx, &self->job, count_primes, (void *)(intptr_t)100000);
        if (self->n == 0) CRT_AWAIT(self->n = crt_join(cx, &self->job, &self->primes));
        if (self->n == 0) {
            snprintf(text, sizeof text, "%lld primes below 100000\n", (long long)self->primes);
            put_text(self->io, &self->r, text);
        } else {
            self->r.status = 503;
            put_error(self->io, &self->r);
        }
    }
    CRT_FINALLY
        crt_detach(&self->job);   // cancelled: the job ends alone, it shares nothing with us
    CRT_END;
}

// ---- A connection -------------------------------------------------------------

typedef struct conn {
    crt_frame co;
    crt_stream *peer;
    buffers *io;   // NULL while idle
    CRT_SELECT(3) sel;
    crt_timer timer;
    crt_instant deadline;
    answer answer;
    size_t used;
    bool close;
    crt_poll n, which;
} conn;

static crt_poll conn_run(void *frame, crt_cx *cx)
{
    conn *self = frame;
    CRT_BEGIN(self, cx);
    while (!self->close) {
        if (!self->io || self->io->in_length == 0) {
            // Idle. Most connections of a busy server are, so they hold no buffer:
            // wait until there is something to read, and only then get one.
            free(self->io);
            self->io = NULL;
            CRT_AWAIT(self->which = crt_select_biased(cx, &self->sel,
                crt_on(cx, 0, self->n = crt_readable(cx, self->peer)),
                crt_on(cx, 1, crt_cancelled(cx, app.stop)),
                crt_on(cx, 2, crt_sleep(cx, IDLE_TIMEOUT))));
            if (self->which != 0 || self->n < 0) CRT_RETURN(0);
            self->io = malloc(sizeof *self->io);
            if (!self->io) CRT_RETURN(CRT_ENOMEM);
            self->io->in_length = self->io->out_length = 0;
            self->n = crt_try_read(self->peer, self->io->in, HEAD_MAX);
            if (self->n == CRT_EAGAIN) continue;   // readiness may be a false alarm
            self->deadline = crt_now(cx) + HEAD_TIMEOUT;
        } else {
            // A part of a request is here. The rest has until the deadline,
            // however many bytes dribble in before that.
            CRT_AWAIT(self->n = crt_timeout_at(cx, &self->timer, self->deadline,
                crt_read(cx, self->peer, self->io->in + self->io->in_length,
                         HEAD_MAX - self->io->in_length)));
        }
        if (self->n == CRT_ETIMEDOUT) {
            self->answer.r = (request){.status = 408, .close = true};
            put_error(self->io, &self->answer.r);
            self->close = true;
        } else if (self->n <= 0) {
            CRT_RETURN(0);   // the peer closed, or is gone
        } else {
            self->io->in_length += (size_t)self->n;
        }

        // Answer what is here completely. Answers are collected and sent together,
        // unless the next one would not fit or has to wait for something.
        for (;;) {
            self->used = 0;
            skip_empty_lines(self->io);
            if (!self->close)
                self->used = parse_request(self->io->in, self->io->in_length, &self->answer.r);
            if (self->io->out_length > 0 &&
                (self->used == 0 || self->io->out_length > OUT_MAX - ANSWER_MAX ||
                 self->answer.r.route == ROUTE_SLEEP || self->answer.r.route == ROUTE_BLOCKING)) {
                CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, WRITE_TIMEOUT,
                    crt_write_all(cx, self->peer, self->io->out, self->io->out_length)));
                if (self->n < 0) CRT_RETURN(0);
                self->io->out_length = 0;
            }
            if (self->used == 0) break;
            self->answer.io = self->io;
            CRT_AWAIT(self->n = answer_run(&self->answer, cx));
            self->close = self->answer.r.close;
            consume(self->io, self->used);
            self->deadline = crt_now(cx) + HEAD_TIMEOUT;
        }
    }
    // Our last answer is sent. To close now, with bytes of the peer unread, would
    // reset the connection and could destroy that answer on its way: say that we
    // are done, then throw away what still comes, for a moment.
    CRT_AWAIT(self->n = crt_shutdown(cx, self->peer));
    self->deadline = crt_now(cx) + LINGER_TIMEOUT;
    do {
        CRT_AWAIT(self->n = crt_timeout_at(cx, &self->timer, self->deadline,
            crt_read(cx, self->peer, self->io->in, HEAD_MAX)));
    } while (self->n > 0);
    CRT_RETURN(0);

    CRT_FINALLY   // runs whatever ended this task, even before its first poll
        free(self->io);
        self->io = NULL;
        crt_close(&self->peer);
        atomic_fetch_sub(&app.connections, 1);
        crt_semaphore_release(&app.slots, 1);
    CRT_END;
}

// ---- The server ---------------------------------------------------------------

// Accepts connections for ever; ended by being cancelled.
typedef struct acceptor {
    crt_frame co;
    crt_listener *listener;
    crt_stream *peer;
    bool has_slot;
    crt_poll n;
} acceptor;

static crt_poll acceptor_run(void *frame, crt_cx *cx)
{
    acceptor *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        // A slot first: when all are taken, new clients wait in the kernel's queue
        // and cost us nothing.
        CRT_AWAIT(crt_semaphore_acquire(cx, &app.slots, 1));
        self->has_slot = true;
        CRT_AWAIT(self->n = crt_accept(cx, self->listener, &self->peer, NULL));
        if (self->n == 0) {
            // From here on the slot and the stream are the connection's.
            atomic_fetch_add(&app.connections, 1);
            atomic_fetch_add(&app.connections_total, 1);
            self->n = crt_spawn(cx, conn_run, &(conn){.peer = self->peer});
            if (self->n == 0) {
                self->peer = NULL;
                self->has_slot = false;
                continue;
            }
            atomic_fetch_sub(&app.connections, 1);
        }
        // One connection failed, not the server. Do not spin if the next one will too.
        fprintf(stderr, "accept: %s\n", crt_strerror((int)self->n));
        crt_close(&self->peer);
        crt_semaphore_release(&app.slots, 1);
        self->has_slot = false;
        CRT_AWAIT(crt_sleep(cx, CRT_MS(20)));
    }
    CRT_FINALLY
        crt_close(&self->peer);
        crt_close(&self->listener);
        if (self->has_slot) crt_semaphore_release(&app.slots, 1);
        self->has_slot = false;
    CRT_END;
}

// Writes the text for the Date header, once a second.
typedef struct calendar {
    crt_frame co;
    crt_interval interval;
} calendar;

static void write_date(void)
{
    const unsigned next = atomic_load(&app.date) + 1;
    const time_t now = time(NULL);
    const struct tm *utc = gmtime(&now);   // not thread-safe, but nobody else calls it
    if (utc) strftime(app.dates[next % 4], sizeof app.dates[0], "%a, %d %b %Y %H:%M:%S GMT", utc);
    atomic_store(&app.date, next);
}

static crt_poll calendar_run(void *frame, crt_cx *cx)
{
    calendar *self = frame;
    CRT_BEGIN(self, cx);
    crt_interval_init(&self->interval, CRT_SEC(1), CRT_SKIP);
    for (;;) {
        CRT_AWAIT(crt_interval_tick(cx, &self->interval));
        write_date();
    }
    CRT_END;
}

typedef struct server {
    crt_frame co;
    char address[32];
    acceptor acceptor;
    CRT_SELECT(3) sel;
    crt_timer timer;
    long long open;
    crt_poll n, which;
} server;

static crt_poll server_run(void *frame, crt_cx *cx)
{
    server *self = frame;
    CRT_BEGIN(self, cx);
    app.started = crt_now(cx);
    // The first call for a signal makes it heard, and is the only one that can fail.
    CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, 0, crt_ctrl_c(cx)));
    if (self->n == CRT_ETIMEDOUT) CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, 0, crt_signal_recv(cx, SIGTERM)));
    if (self->n != CRT_ETIMEDOUT) {
        fprintf(stderr, "signals: %s\n", crt_strerror((int)self->n));
        CRT_RETURN(self->n);
    }
    self->n = crt_spawn(cx, calendar_run, &(calendar){0});
    if (self->n < 0) CRT_RETURN(self->n);
    CRT_AWAIT(self->n = crt_tcp_listen(cx, self->address, NULL, &self->acceptor.listener));
    if (self->n < 0) {
        fprintf(stderr, "%s: %s\n", self->address, crt_strerror((int)self->n));
        CRT_RETURN(self->n);
    }
    {
        char text[64] = "?";
        crt_addr address;
        if (crt_local_addr(self->acceptor.listener, &address) == 0)
            crt_addr_format(&address, text, sizeof text);
        const int workers = crt_runtime_config(app.rt)->worker_threads;
        printf("http://%s/  (%s, %d worker%s, at most %zu connections; Ctrl-C to stop)\n", text,
               app.flavor, workers, workers == 1 ? "" : "s", app.slot_count);
    }
    CRT_AWAIT(self->which = crt_select(cx, &self->sel,
        crt_on(cx, 0, self->n = acceptor_run(&self->acceptor, cx)),
        crt_on(cx, 1, crt_ctrl_c(cx)),
        crt_on(cx, 2, crt_signal_recv(cx, SIGTERM))));

    // The acceptor has lost and its CRT_FINALLY has closed the listener. Idle
    // connections end at once, busy ones after the request they are at. All have
    // ended when every slot is back.
    self->open = atomic_load(&app.connections);
    printf("stopping, %lld connections open\n", self->open);
    crt_cancel_token_cancel(app.stop);
    CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, STOP_TIMEOUT,
        crt_semaphore_acquire(cx, &app.slots, app.slot_count)));
    printf("stopped, %lld requests served, %lld connections cut off\n",
           atomic_load(&app.requests), atomic_load(&app.connections));
    CRT_RETURN(0);
    CRT_FINALLY
        crt_close(&self->acceptor.listener);   // if it was never handed over
    CRT_END;
}

// As many connections as the system lets us have, within reason.
static size_t connection_limit(void)
{
#ifdef _WIN32
    return CONNECTIONS_MAX;
#else
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 900;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 900;
    if (limit.rlim_cur < 34) return 2;
    return limit.rlim_cur - 32 < CONNECTIONS_MAX ? (size_t)limit.rlim_cur - 32 : CONNECTIONS_MAX;
#endif
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
    const long port = argc > 1 ? number(argv[1], 65535) : 8080;
    const long workers = argc > 2 ? number(argv[2], 1024) : 0;   // 0: one for each CPU
    app.flavor = argc > 3 ? argv[3] : "multi_thread";
    const bool current = strcmp(app.flavor, "current_thread") == 0;
    if (argc > 4 || port < 0 || workers < 0 || (!current && strcmp(app.flavor, "multi_thread") != 0)) {
        fprintf(stderr, "usage: http_server [port] [workers] [multi_thread|current_thread]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);   // a line at a time, into a pipe too

    app.page_length = (size_t)snprintf(app.page, sizeof app.page, "%s%s%s", page_style, page_body,
                                       page_script);
    app.slot_count = connection_limit();
    crt_semaphore_init(&app.slots, app.slot_count);
    write_date();

    const crt_config config = {
        .flavor = current ? CRT_CURRENT_THREAD : CRT_MULTI_THREAD,
        .worker_threads = current ? 0 : (int)workers,   // the current thread is one
        .max_blocking_threads = 8,   // /blocking computes: more would not be faster
    };
    int e = crt_runtime_new(&config, &app.rt);
    app.stop = crt_cancel_token_new();
    if (e < 0 || !app.stop) {
        fprintf(stderr, "runtime: %s\n", crt_strerror(e < 0 ? e : CRT_ENOMEM));
        return 1;
    }
    server frame = {0};
    snprintf(frame.address, sizeof frame.address, "127.0.0.1:%ld", port);
    e = (int)crt_block_on(app.rt, server_run, &frame);
    crt_runtime_shutdown(app.rt, CRT_MS(300));   // cancels whatever is left
    crt_runtime_drop(&app.rt);
    crt_cancel_token_drop(&app.stop);
    return e < 0;
}
