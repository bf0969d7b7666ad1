// mini_redis.c: a server that speaks Redis's protocol (RESP2), on the loopback interface.
//
//     ./mini_redis [--port N] [--workers N] [--maxmemory BYTES] [--maxclients N] [--timeout SECONDS]
//
// Strings with expiry, publish and subscribe: enough for redis-cli, redis-benchmark and
// the usual client libraries. In memory only. What makes it a server and not a toy:
//   - pipelining: whatever commands have arrived are answered with one write;
//   - commands run on all workers at once, over a store in 64 parts with a lock each; a
//     command with several keys, and FLUSHALL, locks its parts in order, so it is atomic
//     like Redis's (KEYS and DBSIZE look at one part after the other);
//   - a limit for everything a client can send, make us keep, or not read: see the enum
//     below. Memory of keys and memory of clients are limited each in total;
//   - a web page that POSTs commands here is cut off at its first line;
//   - an idle connection owns no buffer; deadlines for idling, for the rest of a command
//     that has begun, and for taking an answer;
//   - Ctrl-C, SIGTERM or SHUTDOWN: answers what has been read, for two seconds at most,
//     then ends with status 0.
//
// Read from the bottom: main, server, conn, then the commands, the parser, pub/sub and
// the store. Only what is under "A connection" and below waits; all above is plain C.

#define CRT_IMPLEMENTATION
#include "../crt.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifndef _WIN32
#include <sys/resource.h>
#endif

enum {
    SHARDS = 64,                         // parts of the store; one bit each in a uint64_t
    KEY_MAX = 64 * 1024,                 // bytes of a key
    BULK_MAX = 1024 * 1024,              // of a value or any other argument (the protocol: 512 MiB)
    ARGS_MAX = 64 * 1024,                // of one command
    INLINE_MAX = 64 * 1024,              // of a command that is a line
    IN_MAX = 8 * 1024 * 1024,            // of one command in all
    OUT_MAX = 16 * 1024 * 1024,          // of one answer
    OUT_FLUSH = 64 * 1024,               // answers collected before they are sent
    PATTERN_MAX = 256,                   // of a glob, or of a channel's name
    RUN_WORK = 1024 * 1024,              // for one client until others have their turn: a millisecond or so, see charge
    ANSWER_LEAST = 512,                  // bytes that are free when a command begins: an error fits
    SUBSCRIPTIONS_MAX = 1024,            // of one client
    PATTERNS_MAX = 64,
    PATTERNS_ALL = 4096,                 // different ones of all clients: each PUBLISH tries them all
    NEWS_MAX = 8 * 1024 * 1024,          // bytes of messages that wait for one subscriber
    NEWS_BATCH = 16,
    BUFFER_FIRST = 4 * 1024
};
#define CLIENTS_MEMORY ((size_t)256 * 1024 * 1024)   // of all clients: buffers, arguments, subscriptions, messages
#define RELEASE_TIME CRT_SEC(1)      // then an idle client's buffers go
#define COMMAND_TIMEOUT CRT_SEC(30)  // from the first byte of a command to its last
#define WRITE_TIMEOUT CRT_SEC(10)    // for a peer that does not read
#define LINGER_TIMEOUT CRT_MS(250)   // see conn_run
#define STOP_TIMEOUT CRT_SEC(2)
#define SWEEP_PERIOD CRT_MS(100)

static struct {
    crt_runtime *rt;
    crt_cancel_token *stop;       // raised by Ctrl-C, SIGTERM, SHUTDOWN
    crt_task_tracker *tracker;    // of the connections
    crt_semaphore slots;          // one for each client that may be connected
    long port;
    size_t maxclients, maxmemory;
    crt_duration timeout;         // of an idle client; 0: none
    crt_instant started;
    uint64_t hash_key[2];
    atomic_ullong next_id, connections_total, commands, expired, refused;
    atomic_llong connections;
    atomic_size_t used;           // by the store, in bytes
    atomic_size_t buffered;       // by and for the clients
} app = {.maxclients = 10000, .maxmemory = (size_t)256 * 1024 * 1024, .timeout = CRT_SEC(300), .port = 6380};

// ---- Memory of the clients ----------------------------------------------------

// NULL: the system has none, or it would be more than a quarter of what is left for all clients.
// So those who have much leave room for many who want little. Up to `always` bytes are
// given though nothing is left: whoever is let in can PING, and be told what is wrong.
static void *memory_grow(void *old, size_t from, size_t to, size_t always)
{
    const size_t before = atomic_fetch_add(&app.buffered, to - from);
    const size_t left = before < CLIENTS_MEMORY ? CLIENTS_MEMORY - before : 0;
    void *data = to <= always || to - from <= left / 4 ? realloc(old, to) : NULL;
    if (!data) atomic_fetch_sub(&app.buffered, to - from);
    return data;
}
static void memory_free(void *data, size_t size)
{
    atomic_fetch_sub(&app.buffered, size);
    free(data);
}

typedef struct text {
    const char *data;
    size_t length;
} text;

typedef struct buffer {
    char *data;
    size_t length, room;
} buffer;

static void buffer_free(buffer *b)
{
    memory_free(b->data, b->room);
    *b = (buffer){0};
}
// Room for n more bytes. False: it would be more than `most`, or there is no memory.
static bool buffer_reserve(buffer *b, size_t n, size_t most)
{
    if (n <= b->room - b->length) return true;
    if (n > most || b->length > most - n) return false;
    size_t room = b->room ? b->room * 2 : BUFFER_FIRST;
    while (room < b->length + n) room *= 2;
    char *data = memory_grow(b->data, b->room, room, BUFFER_FIRST);
    if (!data) return false;
    b->data = data;
    b->room = room;
    return true;
}
// Gives back what a long command needed, once little is left in it.
static void buffer_fit(buffer *b)
{
    size_t room = BUFFER_FIRST;
    if (b->room / 4 <= OUT_FLUSH || b->length > b->room / 4) return;
    while (room < b->length) room *= 2;
    char *data = realloc(b->data, room);
    if (!data) return;
    atomic_fetch_sub(&app.buffered, b->room - room);
    b->data = data;
    b->room = room;
}

// ---- The store ----------------------------------------------------------------
// A hash table in SHARDS parts. A section under a lock is short and never waits, so the
// locks are the system's.

typedef struct entry {
    struct entry *next;
    uint64_t hash;
    crt_instant expires;   // 0: never
    uint32_t key_length, length, room;
    char bytes[];          // the key, then the value
} entry;

typedef struct shard {
    alignas(64) pthread_mutex_t lock;
    entry **buckets;
    size_t size, count;    // buckets (a power of two), entries
    size_t mortal;         // entries that expire
    size_t swept;          // where the sweeper goes on
} shard;
static shard shards[SHARDS];

// SipHash-1-3, with a key drawn at the start: nobody outside can choose keys that collide.
#define ROTATE(x, n) (((x) << (n)) | ((x) >> (64 - (n))))
static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1]; v[1] = ROTATE(v[1], 13); v[1] ^= v[0]; v[0] = ROTATE(v[0], 32);
    v[2] += v[3]; v[3] = ROTATE(v[3], 16); v[3] ^= v[2];
    v[0] += v[3]; v[3] = ROTATE(v[3], 21); v[3] ^= v[0];
    v[2] += v[1]; v[1] = ROTATE(v[1], 17); v[1] ^= v[2]; v[2] = ROTATE(v[2], 32);
}
static uint64_t hash_of(text t)
{
    uint64_t v[4] = {app.hash_key[0] ^ 0x736f6d6570736575u, app.hash_key[1] ^ 0x646f72616e646f6du,
                     app.hash_key[0] ^ 0x6c7967656e657261u, app.hash_key[1] ^ 0x7465646279746573u};
    uint64_t word;
    size_t i = 0;
    for (; i + 8 <= t.length; i += 8) {
        memcpy(&word, t.data + i, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    word = (uint64_t)t.length << 56;
    for (unsigned shift = 0; i < t.length; i++, shift += 8) word |= (uint64_t)(unsigned char)t.data[i] << shift;
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    for (i = 0; i < 3; i++) sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
static shard *shard_of(uint64_t hash) { return &shards[hash >> 58]; }
static uint64_t shard_bit(uint64_t hash) { return UINT64_C(1) << (hash >> 58); }

// Several shards are always locked in the same order.
static void lock_shards(uint64_t set)
{
    for (int i = 0; i < SHARDS; i++)
        if (set >> i & 1) pthread_mutex_lock(&shards[i].lock);
}
static void unlock_shards(uint64_t set)
{
    for (int i = 0; i < SHARDS; i++)
        if (set >> i & 1) pthread_mutex_unlock(&shards[i].lock);
}

static char *value_of(entry *e) { return e->bytes + e->key_length; }
static size_t cost_of(size_t key_length, size_t room) { return sizeof(entry) + key_length + room + 16; }

static void entry_set_expiry(shard *s, entry *e, crt_instant at)
{
    s->mortal += (at != 0);
    s->mortal -= (e->expires != 0);
    e->expires = at;
}
static void entry_remove(shard *s, entry **link)
{
    entry *e = *link;
    entry_set_expiry(s, e, 0);
    *link = e->next;
    s->count--;
    atomic_fetch_sub(&app.used, cost_of(e->key_length, e->room));
    free(e);
}
// Where the key's entry hangs; NULL: there is none. One that has expired goes now.
static entry **store_find(shard *s, text key, uint64_t hash, crt_instant now)
{
    if (s->size == 0) return NULL;
    for (entry **link = &s->buckets[hash & (s->size - 1)]; *link; link = &(*link)->next) {
        entry *e = *link;
        if (e->hash != hash || e->key_length != key.length || memcmp(e->bytes, key.data, key.length) != 0) continue;
        if (e->expires == 0 || e->expires > now) return link;
        entry_remove(s, link);
        atomic_fetch_add(&app.expired, 1);
        return NULL;
    }
    return NULL;
}
// Twice the buckets. All at once: a shard has a 64th of the keys, a million take a millisecond or so.
static bool shard_grow(shard *s)
{
    const size_t size = s->size ? s->size * 2 : 16;
    entry **buckets = calloc(size, sizeof *buckets);
    if (!buckets) return s->size != 0;   // longer chains, then
    for (size_t i = 0; i < s->size; i++)
        for (entry *e = s->buckets[i], *next; e; e = next) {
            next = e->next;
            e->next = buckets[e->hash & (size - 1)];
            buckets[e->hash & (size - 1)] = e;
        }
    atomic_fetch_add(&app.used, (size - s->size) * sizeof *buckets);
    free(s->buckets);
    s->buckets = buckets;
    s->size = size;
    return true;
}
// The key's entry with room for a value of n bytes, the old value kept if it fits; a new
// one is empty. NULL: no memory, or the store would have more than `most`; nothing has changed then.
static entry *store_reserve(shard *s, text key, uint64_t hash, size_t n, crt_instant now, size_t most)
{
    entry **link = store_find(s, key, hash, now);
    const size_t old = link ? cost_of((*link)->key_length, (*link)->room) : 0;
    if (link && n <= (*link)->room && (*link)->room / 2 <= n + 64) return *link;
    const size_t cost = cost_of(key.length, n);
    if (cost > old && atomic_load_explicit(&app.used, memory_order_relaxed) + (cost - old) > most) return NULL;
    if (!link && s->count >= s->size && !shard_grow(s)) return NULL;
    entry *e = realloc(link ? *link : NULL, sizeof *e + key.length + n);
    if (!e) return NULL;
    atomic_fetch_add(&app.used, cost - old);   // wraps, should it shrink
    e->room = (uint32_t)n;
    if (link) {
        if (e->length > e->room) e->length = e->room;
        *link = e;
        return e;
    }
    e->hash = hash;
    e->expires = 0;
    e->key_length = (uint32_t)key.length;
    e->length = 0;
    memcpy(e->bytes, key.data, key.length);
    entry **bucket = &s->buckets[hash & (s->size - 1)];
    e->next = *bucket;
    *bucket = e;
    s->count++;
    return e;
}
static bool store_set(shard *s, text key, uint64_t hash, text value, crt_instant now, size_t most)
{
    entry *e = store_reserve(s, key, hash, value.length, now, most);
    if (!e) return false;
    memcpy(value_of(e), value.data, value.length);
    e->length = (uint32_t)value.length;
    return true;
}
static void store_flush(void)
{
    struct { entry **buckets; size_t size; } old[SHARDS];
    lock_shards(UINT64_MAX);
    for (int i = 0; i < SHARDS; i++) {
        shard *s = &shards[i];
        old[i].buckets = s->buckets;
        old[i].size = s->size;
        s->buckets = NULL;
        s->size = s->count = s->mortal = s->swept = 0;
    }
    unlock_shards(UINT64_MAX);
    for (int i = 0; i < SHARDS; i++) {
        size_t freed = old[i].size * sizeof *old[i].buckets;
        for (size_t b = 0; b < old[i].size; b++)
            for (entry *e = old[i].buckets[b], *next; e; e = next) {
                next = e->next;
                freed += cost_of(e->key_length, e->room);
                free(e);
            }
        free(old[i].buckets);
        atomic_fetch_sub(&app.used, freed);
    }
}
// Removes what has expired in the next few buckets, so that keys nobody asks for go as well.
static void store_sweep(crt_instant now)
{
    for (int i = 0; i < SHARDS; i++) {
        shard *s = &shards[i];
        pthread_mutex_lock(&s->lock);
        for (size_t n = s->mortal ? (s->size < 256 ? s->size : 256) : 0; n > 0; n--) {
            entry **link = &s->buckets[s->swept++ & (s->size - 1)];
            while (*link) {
                if ((*link)->expires == 0 || (*link)->expires > now) {
                    link = &(*link)->next;
                } else {
                    entry_remove(s, link);
                    atomic_fetch_add(&app.expired, 1);
                }
            }
        }
        pthread_mutex_unlock(&s->lock);
    }
}

// ---- Globs --------------------------------------------------------------------

// One element of a pattern (not '*') against one byte; *next is what follows it.
static bool glob_one(const char *p, const char *end, unsigned char byte, const char **next)
{
    if (*p == '\\' && p + 1 < end) {
        *next = p + 2;
        return (unsigned char)p[1] == byte;
    }
    *next = p + 1;
    if (*p == '?') return true;
    if (*p != '[') return (unsigned char)*p == byte;
    p++;
    const bool negated = p < end && *p == '^';
    bool found = false;
    if (negated) p++;
    for (; p < end && *p != ']'; p++) {
        if (*p == '\\' && p + 1 < end) p++;
        unsigned char low = (unsigned char)*p, high = low;
        if (p + 2 < end && p[1] == '-' && p[2] != ']') {
            high = (unsigned char)p[2];
            p += 2;
        }
        if (low > high) {
            const unsigned char swap = low;
            low = high;
            high = swap;
        }
        found |= byte >= low && byte <= high;
    }
    *next = p < end ? p + 1 : end;
    return found != negated;
}
// A pattern, made ready: a state for each element that is not '*', and one behind the last.
// All states that the text so far leads to are a set of bits, so that a byte of the text costs
// the same whatever the pattern: no text is tried again, and nobody's pattern takes long.
enum { GLOB_WORDS = PATTERN_MAX / 64 + 1 };
typedef struct glob {
    size_t words, last;   // of a set, and the state behind the last element
    uint64_t sets[];      // the states with a '*' before them, then for each byte those that it leads on from
} glob;

static size_t glob_size(size_t words) { return sizeof(glob) + 257 * words * sizeof(uint64_t); }
static void glob_free(glob *g)
{
    if (g) memory_free(g, glob_size(g->words));
}
// Of a pattern of at most PATTERN_MAX bytes. NULL: no memory.
static glob *glob_new(text pattern)
{
    const size_t words = pattern.length / 64 + 1;
    glob *g = memory_grow(NULL, 0, glob_size(words), 0);
    if (!g) return NULL;
    memset(g, 0, glob_size(words));
    g->words = words;
    for (const char *p = pattern.data, *end = p + pattern.length, *next = p; p < end; p = next) {
        const uint64_t bit = UINT64_C(1) << g->last % 64;
        uint64_t *word = &g->sets[g->last / 64];
        if (*p == '*') {
            *word |= bit;
            next = p + 1;
            continue;
        }
        for (unsigned byte = 0; byte < 256; byte++)
            if (glob_one(p, end, (unsigned char)byte, &next)) word[(1 + byte) * words] |= bit;
        g->last++;
    }
    return g;
}
static bool glob_matches(const glob *g, text t)
{
    uint64_t states[GLOB_WORDS] = {1};
    const uint64_t last = UINT64_C(1) << g->last % 64;
    const size_t last_word = g->last / 64;
    for (size_t i = 0; i < t.length; i++) {
        const uint64_t *leads = &g->sets[(1 + (size_t)(unsigned char)t.data[i]) * g->words];
        uint64_t carry = 0, any = 0;
        if (states[last_word] & g->sets[last_word] & last) return true;   // "...*": whatever follows
        for (size_t w = 0; w < g->words; w++) {
            const uint64_t on = states[w] & leads[w];
            states[w] = on << 1 | carry | (states[w] & g->sets[w]);
            carry = on >> 63;
            any |= states[w];
        }
        if (!any) return false;
    }
    return states[last_word] & last;
}

// ---- A client -----------------------------------------------------------------

typedef struct arg {
    size_t at, length;   // from the beginning of the command on
} arg;

typedef struct client {
    buffer in, out;
    size_t begin;         // in `in`: where the command begins that is being read,
    size_t at;            //   and how far it has been
    arg *args;
    size_t argc, args_room;
    long bulks;           // arguments still to come, -1: its head has not been read
    long bulk;            // bytes of the next one, -1: its length has not been read
    size_t mark;          // in `out`: where the present answer begins
    size_t work;          // of this client_run; see charge
    struct scan *scan;    // a KEYS that has not seen all
    bool broken;          // it does not fit
    bool closing;
    bool progress;        // a command was complete since conn_run last looked
    unsigned executed;    // since app.commands was told
    uint64_t id;
    char name[64];
    crt_instant now;      // when this batch of commands began
    struct channel **subscriptions;
    size_t subscribed, patterns;
    crt_mpsc_tx *mail;    // from the first subscription on
    crt_mpsc_rx *news;
    atomic_size_t waiting;   // bytes in the mailbox
    atomic_bool overflow;    // it was full: the client goes
} client;

// What has been done for the client, in nanoseconds or so: after RUN_WORK it waits for its next turn.
static void charge(client *c, size_t work) { c->work += work; }

// ---- Answers ------------------------------------------------------------------

static bool put_room(client *c, size_t n)
{
    if (!c->broken && !buffer_reserve(&c->out, n, OUT_MAX + OUT_FLUSH)) c->broken = true;
    return !c->broken;
}
static void put(client *c, const char *data, size_t n)
{
    if (!put_room(c, n)) return;
    memcpy(c->out.data + c->out.length, data, n);
    c->out.length += n;
}
#define PUT(c, literal) put((c), (literal), sizeof(literal) - 1)

static size_t digits(char out[24], int64_t value)
{
    char reversed[24];
    size_t n = 0, length = 0;
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
    do reversed[n++] = (char)('0' + rest % 10); while (rest /= 10);
    if (value < 0) out[length++] = '-';
    while (n > 0) out[length++] = reversed[--n];
    return length;
}
static void put_head(client *c, char type, int64_t value)
{
    char head[32];
    head[0] = type;
    size_t n = 1 + digits(head + 1, value);
    head[n++] = '\r';
    head[n++] = '\n';
    put(c, head, n);
}
static void put_int(client *c, int64_t value) { put_head(c, ':', value); }
static void put_array(client *c, size_t n) { put_head(c, '*', (int64_t)n); }
static void put_nil(client *c) { PUT(c, "$-1\r\n"); }
static void put_bulk(client *c, text t)
{
    if (!put_room(c, t.length + 32)) return;
    put_head(c, '$', (int64_t)t.length);
    put(c, t.data, t.length);
    PUT(c, "\r\n");
}
static text text_of(const char *string) { return (text){string, strlen(string)}; }
static void put_string(client *c, const char *string) { put_bulk(c, text_of(string)); }
static void put_error(client *c, const char *format, ...)
{
    char line[ANSWER_LEAST - 3];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(line, sizeof line - 2, format, list);
    va_end(list);
    if (n > (int)sizeof line - 3) n = (int)sizeof line - 3;
    for (int i = 0; i < n; i++)
        if (line[i] == '\r' || line[i] == '\n') line[i] = ' ';   // it is one line, whatever was quoted
    PUT(c, "-");
    put(c, line, n > 0 ? (size_t)n : 0);
    PUT(c, "\r\n");
}
static const char not_an_integer[] = "ERR value is not an integer or out of range";
static const char syntax_error[] = "ERR syntax error";
static const char out_of_memory[] = "OOM command not allowed when used memory > 'maxmemory'.";
static const char no_memory[] = "the server has no memory for clients";

// ---- Publish and subscribe ----------------------------------------------------
// A subscriber has a mailbox, an unbounded mpsc channel whose bytes are counted: one
// queue however many channels it hears, in order, and it alone is cut off if it does not
// read. A message is made once and shared by those who get it; if the memory of the
// clients does not suffice for it, nobody gets it, and PUBLISH counts nobody.

typedef struct message {
    atomic_uint refs;
    size_t size, length;   // of all, of bytes
    char bytes[];
} message;

typedef struct channel {
    struct channel *next;
    client **subscribers;
    size_t count, room;
    bool pattern;
    glob *glob;   // of a pattern
    size_t length;
    char name[];
} channel;

static struct {
    pthread_mutex_t lock;
    channel *buckets[1024];
    channel *patterns;
    size_t pattern_count;
} hub = {.lock = PTHREAD_MUTEX_INITIALIZER};

static text name_of(channel *ch) { return (text){ch->name, ch->length}; }

static void message_drop(message *m)
{
    if (m && atomic_fetch_sub(&m->refs, 1) == 1) memory_free(m, m->size);
}
static void message_on_drop(void *elem, void *user)
{
    (void)user;
    message_drop(*(message **)elem);
}
// "message" channel payload, or "pmessage" pattern channel payload.
static message *message_new(text pattern, text name, text payload)
{
    const size_t size = sizeof(message) + pattern.length + name.length + payload.length + 160;
    message *m = memory_grow(NULL, 0, size, 0);
    if (!m) return NULL;
    atomic_init(&m->refs, 1);
    m->size = size;
    char *p = m->bytes;
    const text parts[] = {pattern, name, payload};
    p += sprintf(p, "%s", pattern.data ? "*4\r\n$8\r\npmessage\r\n" : "*3\r\n$7\r\nmessage\r\n");
    for (int i = pattern.data ? 0 : 1; i < 3; i++) {
        p += sprintf(p, "$%zu\r\n", parts[i].length);
        memcpy(p, parts[i].data, parts[i].length);
        p += parts[i].length;
        *p++ = '\r';
        *p++ = '\n';
    }
    m->length = (size_t)(p - m->bytes);
    return m;
}
// How many got it. The hub is locked.
static size_t channel_send(channel *ch, text name, text payload)
{
    const text none = {NULL, 0};
    message *m = message_new(ch->pattern ? name_of(ch) : none, name, payload);
    size_t sent = 0;
    for (size_t i = 0; m && i < ch->count; i++) {
        client *to = ch->subscribers[i];
        const size_t size = m->length + sizeof *m;
        if (atomic_load(&to->overflow)) continue;
        if (atomic_fetch_add(&to->waiting, size) + size > NEWS_MAX) atomic_store(&to->overflow, true);
        atomic_fetch_add(&m->refs, 1);
        if (crt_mpsc_try_send(to->mail, &m) == 0) {
            sent++;
        } else {
            atomic_fetch_sub(&to->waiting, size);
            message_drop(m);
        }
    }
    message_drop(m);
    return sent;
}
static size_t publish(client *c, text name, text payload)
{
    size_t sent = 0;
    pthread_mutex_lock(&hub.lock);
    for (channel *ch = hub.buckets[hash_of(name) % 1024]; ch; ch = ch->next)
        if (ch->length == name.length && memcmp(ch->name, name.data, name.length) == 0)
            sent += channel_send(ch, name, payload);
    for (channel *ch = hub.patterns; ch; ch = ch->next)
        if (glob_matches(ch->glob, name)) sent += channel_send(ch, name, payload);
    charge(c, hub.pattern_count * (16 + 2 * name.length) + 256 * sent);
    pthread_mutex_unlock(&hub.lock);
    return sent;
}
static channel **channel_place(text name, bool pattern)
{
    channel **link = pattern ? &hub.patterns : &hub.buckets[hash_of(name) % 1024];
    while (*link && ((*link)->length != name.length || memcmp((*link)->name, name.data, name.length) != 0))
        link = &(*link)->next;
    return link;
}
static ptrdiff_t subscription_index(const client *c, text name, bool pattern)
{
    for (size_t i = 0; i < c->subscribed; i++) {
        channel *ch = c->subscriptions[i];
        if (ch->pattern == pattern && ch->length == name.length && memcmp(ch->name, name.data, name.length) == 0)
            return (ptrdiff_t)i;
    }
    return -1;
}
// The channel, made if there is none yet. NULL: no memory, or too many patterns. The hub is locked.
static channel *channel_get(text name, bool pattern)
{
    channel **link = channel_place(name, pattern), *ch = *link;
    if (ch || (pattern && hub.pattern_count == PATTERNS_ALL)) return ch;
    ch = memory_grow(NULL, 0, sizeof *ch + name.length, 0);
    if (!ch) return NULL;
    *ch = (channel){.pattern = pattern, .length = name.length, .glob = pattern ? glob_new(name) : NULL};
    if (pattern && !ch->glob) {
        memory_free(ch, sizeof *ch + ch->length);
        return NULL;
    }
    memcpy(ch->name, name.data, name.length);
    hub.pattern_count += pattern;
    *link = ch;
    return ch;
}
static bool channel_room(channel *ch)
{
    if (ch->count < ch->room) return true;
    const size_t room = ch->room ? ch->room * 2 : 4, one = sizeof *ch->subscribers;
    client **subscribers = memory_grow(ch->subscribers, ch->room * one, room * one, 0);
    if (!subscribers) return false;
    ch->subscribers = subscribers;
    ch->room = room;
    return true;
}
static void channel_drop_if_empty(channel *ch)
{
    if (ch->count > 0) return;
    *channel_place(name_of(ch), ch->pattern) = ch->next;
    hub.pattern_count -= ch->pattern;
    memory_free(ch->subscribers, ch->room * sizeof *ch->subscribers);
    glob_free(ch->glob);
    memory_free(ch, sizeof *ch + ch->length);
}
// What a client needs before its first subscription.
static bool mailbox_open(client *c)
{
    if (!c->subscriptions) c->subscriptions = memory_grow(NULL, 0, SUBSCRIPTIONS_MAX * sizeof *c->subscriptions, 0);
    if (!c->subscriptions) return false;
    if (c->mail) return true;
    if (crt_mpsc_new(sizeof(message *), 0, &c->mail, &c->news) < 0) return false;
    crt_mpsc_on_drop(c->news, message_on_drop, NULL);
    return true;
}
// 0 (also if it was there already), CRT_ENOMEM, CRT_EFULL, CRT_EMSGSIZE.
static int subscribe(client *c, text name, bool pattern)
{
    if (name.length > PATTERN_MAX) return CRT_EMSGSIZE;
    if (subscription_index(c, name, pattern) >= 0) return 0;
    if (c->subscribed == SUBSCRIPTIONS_MAX || (pattern && c->patterns == PATTERNS_MAX)) return CRT_EFULL;
    if (!mailbox_open(c)) return CRT_ENOMEM;
    pthread_mutex_lock(&hub.lock);
    channel *ch = channel_get(name, pattern);
    const bool ok = ch && channel_room(ch);
    if (ok) {
        ch->subscribers[ch->count++] = c;
        c->subscriptions[c->subscribed++] = ch;
        c->patterns += pattern;
    } else if (ch) {
        channel_drop_if_empty(ch);
    }
    pthread_mutex_unlock(&hub.lock);
    return ok ? 0 : CRT_ENOMEM;
}
static void unsubscribe(client *c, size_t index)
{
    pthread_mutex_lock(&hub.lock);
    channel *ch = c->subscriptions[index];
    size_t i = 0;
    while (ch->subscribers[i] != c) i++;
    ch->subscribers[i] = ch->subscribers[--ch->count];
    c->subscriptions[index] = c->subscriptions[--c->subscribed];
    c->patterns -= ch->pattern;
    channel_drop_if_empty(ch);
    pthread_mutex_unlock(&hub.lock);
}
// Appends what the hub has sent.
static void put_message(client *c, message *m)
{
    atomic_fetch_sub(&c->waiting, m->length + sizeof *m);
    put(c, m->bytes, m->length);
    message_drop(m);
}
static void put_news(client *c)
{
    message *m;
    while (crt_mpsc_try_recv(c->news, &m) == 0) put_message(c, m);
    if (c->broken || atomic_load(&c->overflow)) c->closing = true;   // some are lost
}

// ---- Commands -----------------------------------------------------------------
// A command finds its arguments in the client and puts exactly one answer.

static text arg_text(const client *c, size_t i)
{
    return (text){c->in.data + c->begin + c->args[i].at, c->args[i].length};
}
static bool same(text t, const char *word)   // word: lower case
{
    const size_t n = strlen(word);
    if (t.length != n) return false;
    for (size_t i = 0; i < n; i++)
        if (tolower((unsigned char)t.data[i]) != word[i]) return false;
    return true;
}
static bool arg_is(const client *c, size_t i, const char *word) { return same(arg_text(c, i), word); }

// As Redis reads one: no spaces, no plus, no leading zeros.
static bool parse_int(text t, int64_t *out)
{
    const bool negative = t.length > 0 && t.data[0] == '-';
    size_t i = negative;
    const size_t count = t.length - i;
    uint64_t value = 0;
    if (count == 0 || count > 19 || (t.data[i] == '0' && t.length > 1)) return false;
    for (; i < t.length; i++) {
        if (t.data[i] < '0' || t.data[i] > '9') return false;
        value = value * 10 + (uint64_t)(t.data[i] - '0');   // 19 digits fit
    }
    if (value > (uint64_t)INT64_MAX + negative) return false;
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}
static bool arg_int(const client *c, size_t i, int64_t *out) { return parse_int(arg_text(c, i), out); }

// The shards of the keys among the arguments; the lengths are checked on the way.
static bool key_shards(client *c, size_t first, size_t step, uint64_t *set)
{
    *set = 0;
    for (size_t i = first; i < c->argc; i += step) {
        const text key = arg_text(c, i);
        if (key.length > KEY_MAX) {
            put_error(c, "ERR key is longer than %d bytes", KEY_MAX);
            return false;
        }
        *set |= shard_bit(hash_of(key));
    }
    return true;
}

// A command with one key: its shard, locked.
typedef struct place {
    text key;
    uint64_t hash;
    shard *shard;
} place;
static bool place_lock(client *c, place *p)
{
    p->key = arg_text(c, 1);
    if (p->key.length > KEY_MAX) {
        put_error(c, "ERR key is longer than %d bytes", KEY_MAX);
        return false;
    }
    p->hash = hash_of(p->key);
    p->shard = shard_of(p->hash);
    pthread_mutex_lock(&p->shard->lock);
    return true;
}
static void place_unlock(place *p) { pthread_mutex_unlock(&p->shard->lock); }
static entry *place_find(client *c, place *p)
{
    entry **link = store_find(p->shard, p->key, p->hash, c->now);
    return link ? *link : NULL;
}
static void put_value(client *c, entry *e)
{
    if (e) put_bulk(c, (text){value_of(e), e->length});
    else put_nil(c);
}

static void do_ping(client *c)
{
    if (c->argc > 2) {
        put_error(c, "ERR wrong number of arguments for 'ping' command");
    } else if (c->subscribed) {   // an answer that cannot be taken for a message
        PUT(c, "*2\r\n$4\r\npong\r\n");
        put_bulk(c, c->argc == 2 ? arg_text(c, 1) : text_of(""));
    } else if (c->argc == 2) {
        put_bulk(c, arg_text(c, 1));
    } else {
        PUT(c, "+PONG\r\n");
    }
}
static void do_echo(client *c) { put_bulk(c, arg_text(c, 1)); }

static void do_get(client *c)
{
    place p;
    if (!place_lock(c, &p)) return;
    put_value(c, place_find(c, &p));
    place_unlock(&p);
}

// "in n seconds", or milliseconds, as an instant. False: it is not one for Redis, which counts
// milliseconds since 1970. Our nanoseconds end after 292 years: what is later expires then.
static bool expiry_at(const client *c, int64_t n, bool seconds, crt_instant *at)
{
    const int64_t unit = seconds ? CRT_SEC(1) : CRT_MS(1), most = INT64_MAX - CRT_SEC(1);   // put_ttl rounds
    if (seconds && (n > INT64_MAX / 1000 || n < INT64_MIN / 1000)) return false;
    if (n > (most - c->now) / unit) {
        *at = most;
        return n * (seconds ? 1000 : 1) <= INT64_MAX - (int64_t)time(NULL) * 1000;
    }
    *at = n < 0 ? -1 : c->now + n * unit;   // -1: long ago; 0 would be never
    if (*at == 0) *at = -1;
    return true;
}

static void do_set(client *c)
{
    bool nx = false, xx = false, keep = false, get = false, expires = false;
    crt_instant at = 0;
    for (size_t i = 3; i < c->argc; i++) {
        int64_t n;
        const bool seconds = arg_is(c, i, "ex");
        if (arg_is(c, i, "nx")) nx = true;
        else if (arg_is(c, i, "xx")) xx = true;
        else if (arg_is(c, i, "get")) get = true;
        else if (arg_is(c, i, "keepttl")) keep = true;
        else if ((seconds || arg_is(c, i, "px")) && i + 1 < c->argc && !expires) {
            if (!arg_int(c, ++i, &n)) {
                put_error(c, not_an_integer);
                return;
            }
            if (n <= 0 || !expiry_at(c, n, seconds, &at)) {
                put_error(c, "ERR invalid expire time in 'set' command");
                return;
            }
            expires = true;
        } else {
            put_error(c, syntax_error);
            return;
        }
    }
    if ((nx && xx) || (keep && expires)) {
        put_error(c, syntax_error);
        return;
    }
    place p;
    if (!place_lock(c, &p)) return;
    entry *e = place_find(c, &p);
    const bool set = !(nx && e) && !(xx && !e);
    if (get) put_value(c, e);   // before it is overwritten
    if (set && store_set(p.shard, p.key, p.hash, arg_text(c, 2), c->now, app.maxmemory)) {
        if (!keep) entry_set_expiry(p.shard, place_find(c, &p), at);
        if (!get) PUT(c, "+OK\r\n");
    } else if (set) {
        c->out.length = c->mark;
        put_error(c, out_of_memory);
    } else if (!get) {
        put_nil(c);
    }
    place_unlock(&p);
}

static void do_del(client *c)
{
    uint64_t set;
    int64_t removed = 0;
    if (!key_shards(c, 1, 1, &set)) return;
    lock_shards(set);
    for (size_t i = 1; i < c->argc; i++) {
        const text key = arg_text(c, i);
        const uint64_t hash = hash_of(key);
        entry **link = store_find(shard_of(hash), key, hash, c->now);
        if (!link) continue;
        entry_remove(shard_of(hash), link);
        removed++;
    }
    unlock_shards(set);
    put_int(c, removed);
}
static void do_exists(client *c)
{
    uint64_t set;
    int64_t found = 0;
    if (!key_shards(c, 1, 1, &set)) return;
    lock_shards(set);
    for (size_t i = 1; i < c->argc; i++) {
        const text key = arg_text(c, i);
        const uint64_t hash = hash_of(key);
        found += store_find(shard_of(hash), key, hash, c->now) != NULL;
    }
    unlock_shards(set);
    put_int(c, found);
}
static void do_mget(client *c)
{
    uint64_t set;
    if (!key_shards(c, 1, 1, &set)) return;
    put_array(c, c->argc - 1);
    lock_shards(set);
    for (size_t i = 1; i < c->argc && !c->broken; i++) {
        const text key = arg_text(c, i);
        const uint64_t hash = hash_of(key);
        entry **link = store_find(shard_of(hash), key, hash, c->now);
        put_value(c, link ? *link : NULL);
    }
    unlock_shards(set);
}
static void do_mset(client *c)
{
    uint64_t set;
    bool ok = true;
    if (c->argc % 2 == 0) {
        put_error(c, "ERR wrong number of arguments for 'mset' command");
        return;
    }
    if (!key_shards(c, 1, 2, &set)) return;
    // All or nothing: the whole of it must be allowed before the first is set, and then
    // each is, though the store's buckets grow meanwhile. (Unless the system has no memory.)
    size_t need = 0;
    for (size_t i = 1; i < c->argc; i += 2) need += cost_of(c->args[i].length, c->args[i + 1].length);
    lock_shards(set);
    if (atomic_load(&app.used) + need > app.maxmemory) ok = false;
    for (size_t i = 1; ok && i < c->argc; i += 2) {
        const text key = arg_text(c, i);
        const uint64_t hash = hash_of(key);
        shard *s = shard_of(hash);
        ok = store_set(s, key, hash, arg_text(c, i + 1), c->now, SIZE_MAX);
        if (ok) entry_set_expiry(s, *store_find(s, key, hash, c->now), 0);
    }
    unlock_shards(set);
    if (ok) PUT(c, "+OK\r\n");
    else put_error(c, out_of_memory);
}
static void add_to(client *c, int64_t by)
{
    place p;
    if (!place_lock(c, &p)) return;
    entry *e = place_find(c, &p);
    int64_t value = 0;
    char number[24];
    if (e && !parse_int((text){value_of(e), e->length}, &value)) {
        put_error(c, not_an_integer);
    } else if (by > 0 ? value > INT64_MAX - by : value < INT64_MIN - by) {
        put_error(c, "ERR increment or decrement would overflow");
    } else if (!store_set(p.shard, p.key, p.hash, (text){number, digits(number, value + by)}, c->now, app.maxmemory)) {
        put_error(c, out_of_memory);
    } else {
        put_int(c, value + by);   // the time to live stays
    }
    place_unlock(&p);
}
static void do_incr(client *c) { add_to(c, 1); }
static void do_decr(client *c) { add_to(c, -1); }
static void do_incrby(client *c)
{
    int64_t by;
    if (arg_int(c, 2, &by)) add_to(c, by);
    else put_error(c, not_an_integer);
}
static void do_decrby(client *c)
{
    int64_t by;
    if (!arg_int(c, 2, &by)) put_error(c, not_an_integer);
    else if (by == INT64_MIN) put_error(c, "ERR decrement would overflow");
    else add_to(c, -by);
}
static void do_append(client *c)
{
    place p;
    if (!place_lock(c, &p)) return;
    const text more = arg_text(c, 2);
    entry *e = place_find(c, &p);
    const size_t length = (e ? e->length : 0) + more.length;
    if (length > BULK_MAX) {
        put_error(c, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    } else {
        // Half as much again, so that many short appends do not copy each time.
        const size_t room = length + (e ? length / 2 : 0);
        if (!e || length > e->room) e = store_reserve(p.shard, p.key, p.hash, room, c->now, app.maxmemory);
        if (e) {
            memcpy(value_of(e) + e->length, more.data, more.length);
            e->length = (uint32_t)length;
            put_int(c, (int64_t)length);
        } else {
            put_error(c, out_of_memory);
        }
    }
    place_unlock(&p);
}
static void do_strlen(client *c)
{
    place p;
    if (!place_lock(c, &p)) return;
    const entry *e = place_find(c, &p);
    put_int(c, e ? e->length : 0);
    place_unlock(&p);
}
static void expire_in(client *c, bool seconds, const char *name)
{
    int64_t n;
    crt_instant at;
    if (c->argc > 3) {
        put_error(c, "ERR Unsupported option %.*s", (int)(c->args[3].length > 64 ? 64 : c->args[3].length),
                  arg_text(c, 3).data);
        return;
    }
    if (!arg_int(c, 2, &n)) {
        put_error(c, not_an_integer);
        return;
    }
    if (!expiry_at(c, n, seconds, &at)) {
        put_error(c, "ERR invalid expire time in '%s' command", name);
        return;
    }
    place p;
    if (!place_lock(c, &p)) return;
    entry *e = place_find(c, &p);
    put_int(c, e != NULL);
    if (e) entry_set_expiry(p.shard, e, at);
    if (e && n <= 0) entry_remove(p.shard, store_find(p.shard, p.key, p.hash, INT64_MIN));
    place_unlock(&p);
}
static void do_expire(client *c) { expire_in(c, true, "expire"); }
static void do_pexpire(client *c) { expire_in(c, false, "pexpire"); }
static void put_ttl(client *c, crt_duration unit)
{
    place p;
    if (!place_lock(c, &p)) return;
    const entry *e = place_find(c, &p);
    put_int(c, !e ? -2 : e->expires == 0 ? -1 : (e->expires - c->now + unit / 2) / unit);
    place_unlock(&p);
}
static void do_ttl(client *c) { put_ttl(c, CRT_SEC(1)); }
static void do_pttl(client *c) { put_ttl(c, CRT_MS(1)); }
static void do_persist(client *c)
{
    place p;
    if (!place_lock(c, &p)) return;
    entry *e = place_find(c, &p);
    put_int(c, e && e->expires != 0);
    if (e) entry_set_expiry(p.shard, e, 0);
    place_unlock(&p);
}
static void do_type(client *c)
{
    place p;
    if (!place_lock(c, &p)) return;
    if (place_find(c, &p)) PUT(c, "+string\r\n");
    else PUT(c, "+none\r\n");
    place_unlock(&p);
}
// KEYS may have much to look at: it stops after its share of work, between two buckets, and
// goes on in the next client_run; its answer is sent when it is whole.
typedef struct scan {
    int shard;
    size_t bucket;
    int64_t found;
    glob *glob;
} scan;

enum { KEYS_HEAD = 24 };   // for "*", a number, and "\r\n"

static void scan_end(client *c)
{
    if (!c->scan) return;
    glob_free(c->scan->glob);
    memory_free(c->scan, sizeof *c->scan);
    c->scan = NULL;
}
// The order counts up from the highest bit: if the shard grows meanwhile, what has been seen
// is just what would have come before. (FLUSHALL may let a key that comes again be seen again.)
static size_t bucket_after(size_t bucket, size_t size)
{
    size_t bit = size >> 1;
    for (; bucket & bit; bit >>= 1) bucket ^= bit;
    return bucket | bit;   // 0 after the last
}
static void scan_bucket(client *c, const entry *e)
{
    charge(c, 8);
    for (; e && !c->broken; e = e->next) {
        const text key = {e->bytes, e->key_length};
        charge(c, 64 + key.length * c->scan->glob->words);
        if ((e->expires != 0 && e->expires <= c->now) || !glob_matches(c->scan->glob, key)) continue;
        put_bulk(c, key);
        c->scan->found++;
    }
}
// How many there are is known at the end: fills in the head, for which there is room.
static void scan_head(client *c)
{
    char head[32] = "*";
    size_t n = 1 + digits(head + 1, c->scan->found);
    memcpy(head + n, "\r\n", 2);
    n += 2;
    char *start = c->out.data + c->mark;
    memcpy(start, head, n);
    memmove(start + n, start + KEYS_HEAD, c->out.length - c->mark - KEYS_HEAD);
    c->out.length -= KEYS_HEAD - n;
}
static void scan_on(client *c)
{
    scan *k = c->scan;
    while (k->shard < SHARDS && !c->broken && c->work < RUN_WORK) {
        shard *s = &shards[k->shard];
        pthread_mutex_lock(&s->lock);
        bool whole = s->size == 0;
        while (!whole && !c->broken && c->work < RUN_WORK) {
            k->bucket &= s->size - 1;   // after FLUSHALL there are fewer
            scan_bucket(c, s->buckets[k->bucket]);
            k->bucket = bucket_after(k->bucket, s->size);
            whole = k->bucket == 0;
        }
        pthread_mutex_unlock(&s->lock);
        if (!whole) continue;
        k->shard++;
        k->bucket = 0;
    }
    if (k->shard < SHARDS && !c->broken) return;
    if (!c->broken) scan_head(c);
    scan_end(c);
}
static void do_keys(client *c)
{
    const text pattern = arg_text(c, 1);
    if (pattern.length > PATTERN_MAX) {
        put_error(c, "ERR pattern is longer than %d bytes", PATTERN_MAX);
        return;
    }
    charge(c, 256 * pattern.length);
    c->scan = memory_grow(NULL, 0, sizeof *c->scan, 0);
    if (c->scan) *c->scan = (scan){.glob = glob_new(pattern)};
    if (!c->scan || !c->scan->glob) {
        scan_end(c);
        put_error(c, "ERR %s", no_memory);
        return;
    }
    put(c, "                        ", KEYS_HEAD);
    scan_on(c);
}
static int64_t store_count(void)
{
    int64_t count = 0;
    for (int i = 0; i < SHARDS; i++) {
        pthread_mutex_lock(&shards[i].lock);
        count += (int64_t)shards[i].count;
        pthread_mutex_unlock(&shards[i].lock);
    }
    return count;
}
static void do_dbsize(client *c) { put_int(c, store_count()); }
static void do_flush(client *c)
{
    if (c->argc > 2 || (c->argc == 2 && !arg_is(c, 1, "sync") && !arg_is(c, 1, "async"))) {
        put_error(c, syntax_error);
        return;
    }
    store_flush();
    PUT(c, "+OK\r\n");
}
static void do_select(client *c)
{
    int64_t n;
    if (!arg_int(c, 1, &n)) put_error(c, not_an_integer);
    else if (n != 0) put_error(c, "ERR DB index is out of range");
    else PUT(c, "+OK\r\n");
}
static bool name_is_good(text name)
{
    for (size_t i = 0; i < name.length; i++)
        if (name.data[i] < '!' || name.data[i] > '~') return false;
    return name.length < sizeof((client *)0)->name;
}
static bool set_name(client *c, text name)
{
    if (!name_is_good(name)) {
        put_error(c, "ERR Client names cannot contain spaces, newlines or special characters.");
        return false;
    }
    memcpy(c->name, name.data, name.length);
    c->name[name.length] = '\0';
    return true;
}
static void do_hello(client *c)
{
    int64_t version = 2;
    if (c->argc > 1 && !arg_int(c, 1, &version)) {
        put_error(c, "ERR Protocol version is not an integer or out of range");
        return;
    }
    if (version != 2) {   // a client that asked for 3 goes on with 2
        put_error(c, "NOPROTO unsupported protocol version");
        return;
    }
    for (size_t i = 2; i < c->argc; i += 2) {
        if (arg_is(c, i, "auth") && i + 2 < c->argc) {
            put_error(c, "ERR HELLO cannot authenticate: this server has no passwords");
            return;
        }
        if (!arg_is(c, i, "setname") || i + 1 == c->argc) {
            put_error(c, "ERR Syntax error in HELLO option '%.*s'", (int)(c->args[i].length > 64 ? 64 : c->args[i].length),
                      arg_text(c, i).data);
            return;
        }
        if (!set_name(c, arg_text(c, i + 1))) return;
    }
    put_array(c, 14);
    put_string(c, "server"), put_string(c, "redis");
    put_string(c, "version"), put_string(c, "7.0.0");
    put_string(c, "proto"), put_int(c, 2);
    put_string(c, "id"), put_int(c, (int64_t)c->id);
    put_string(c, "mode"), put_string(c, "standalone");
    put_string(c, "role"), put_string(c, "master");
    put_string(c, "modules"), put_array(c, 0);
}
static void do_client(client *c)
{
    if (c->argc == 3 && arg_is(c, 1, "setname")) {
        if (set_name(c, arg_text(c, 2))) PUT(c, "+OK\r\n");
    } else if (c->argc == 2 && arg_is(c, 1, "getname")) {
        if (c->name[0]) put_string(c, c->name);
        else put_nil(c);
    } else if (c->argc == 2 && arg_is(c, 1, "id")) {
        put_int(c, (int64_t)c->id);
    } else if (c->argc == 4 && arg_is(c, 1, "setinfo")) {
        if (arg_is(c, 2, "lib-name") || arg_is(c, 2, "lib-ver")) PUT(c, "+OK\r\n");
        else put_error(c, "ERR Unrecognized option '%.*s'", (int)(c->args[2].length > 64 ? 64 : c->args[2].length),
                       arg_text(c, 2).data);
    } else {
        put_error(c, "ERR unknown subcommand or wrong number of arguments for CLIENT");
    }
}
static void do_config(client *c)
{
    if (c->argc < 3 || !arg_is(c, 1, "get")) {
        put_error(c, "ERR CONFIG knows GET only");
        return;
    }
    const struct { const char *name; unsigned long long value; const char *words; } all[] = {
        {"appendonly", 0, "no"}, {"databases", 1, NULL}, {"maxclients", app.maxclients, NULL},
        {"maxmemory", app.maxmemory, NULL}, {"maxmemory-policy", 0, "noeviction"},
        {"port", (unsigned long long)app.port, NULL}, {"proto-max-bulk-len", BULK_MAX, NULL},
        {"save", 0, ""}, {"timeout", (unsigned long long)(app.timeout / CRT_SEC(1)), NULL},
    };
    enum { COUNT = sizeof all / sizeof all[0] };
    bool wanted[COUNT] = {false};
    size_t n = 0;
    for (size_t i = 2; i < c->argc && i < 64; i++) {
        glob *g = c->args[i].length <= PATTERN_MAX ? glob_new(arg_text(c, i)) : NULL;
        charge(c, 256 * c->args[i].length);
        for (size_t k = 0; g && k < COUNT; k++)
            if (!wanted[k] && glob_matches(g, text_of(all[k].name))) {
                wanted[k] = true;
                n++;
            }
        glob_free(g);
    }
    put_array(c, 2 * n);
    for (size_t k = 0; k < COUNT; k++) {
        char number[32];
        if (!wanted[k]) continue;
        snprintf(number, sizeof number, "%llu", all[k].value);
        put_string(c, all[k].name);
        put_string(c, all[k].words ? all[k].words : number);
    }
}
static void do_info(client *c)
{
    char out[1536];
    const int64_t keys = store_count();
    int n = snprintf(out, sizeof out,
        "# Server\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\nmultiplexing_api:crt\r\nworkers:%d\r\n"
        "tcp_port:%ld\r\nuptime_in_seconds:%lld\r\n\r\n"
        "# Clients\r\nconnected_clients:%lld\r\nmaxclients:%zu\r\n\r\n"
        "# Memory\r\nused_memory:%zu\r\nmaxmemory:%zu\r\nmem_clients_normal:%zu\r\nmaxmemory_policy:noeviction\r\n\r\n"
        "# Persistence\r\nloading:0\r\n\r\n"
        "# Stats\r\ntotal_connections_received:%llu\r\ntotal_commands_processed:%llu\r\n"
        "rejected_connections:%llu\r\nexpired_keys:%llu\r\n\r\n"
        "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n# Keyspace\r\n",
        app.rt ? crt_runtime_config(app.rt)->worker_threads : 0, app.port,
        (long long)((c->now - app.started) / CRT_SEC(1)), atomic_load(&app.connections), app.maxclients,
        atomic_load(&app.used), app.maxmemory, atomic_load(&app.buffered),
        (unsigned long long)atomic_load(&app.connections_total), (unsigned long long)atomic_load(&app.commands),
        (unsigned long long)atomic_load(&app.refused), (unsigned long long)atomic_load(&app.expired));
    if (keys > 0 && n > 0 && n < (int)sizeof out)
        n += snprintf(out + n, sizeof out - (size_t)n, "db0:keys=%" PRId64 ",expires=0,avg_ttl=0\r\n", keys);
    put_bulk(c, (text){out, n > 0 ? (size_t)n : 0});
}
static void do_publish(client *c)
{
    if (c->args[1].length > PATTERN_MAX) put_error(c, "ERR channel name is longer than %d bytes", PATTERN_MAX);
    else put_int(c, (int64_t)publish(c, arg_text(c, 1), arg_text(c, 2)));
}

// Each name is looked for among what the client has: more than it may have would hold the worker up.
static bool too_many_names(client *c)
{
    if (c->argc - 1 <= SUBSCRIPTIONS_MAX) return false;
    put_error(c, "ERR more than %d names", SUBSCRIPTIONS_MAX);
    return true;
}
static void subscribe_all(client *c, bool pattern)
{
    if (too_many_names(c)) return;
    // One answer for each channel; this command alone has several.
    for (size_t i = 1; i < c->argc; i++) {
        const text name = arg_text(c, i);
        charge(c, 1024 + (pattern ? 256 * name.length : 0));
        if (subscribe(c, name, pattern) < 0) {
            put_error(c, "ERR too many subscriptions, too long a name, or no memory for it");
            return;
        }
        put_array(c, 3);
        put_string(c, pattern ? "psubscribe" : "subscribe");
        put_bulk(c, name);
        put_int(c, (int64_t)c->subscribed);
    }
}
static void unsubscribe_one(client *c, text name, bool pattern)
{
    const ptrdiff_t index = subscription_index(c, name, pattern);
    char copy[PATTERN_MAX];
    if (index >= 0) {
        memcpy(copy, name.data, name.length);   // it may go with the channel
        name.data = copy;
        unsubscribe(c, (size_t)index);
        put_news(c);   // what was sent up to here comes before the answer
    }
    put_array(c, 3);
    put_string(c, pattern ? "punsubscribe" : "unsubscribe");
    put_bulk(c, name);
    put_int(c, (int64_t)c->subscribed);
}
static void unsubscribe_all(client *c, bool pattern)
{
    if (too_many_names(c)) return;
    bool any = false;
    for (size_t i = 1; i < c->argc; i++) unsubscribe_one(c, arg_text(c, i), pattern);
    for (size_t i = c->subscribed; c->argc == 1 && i > 0; i--) {
        if (c->subscriptions[i - 1]->pattern != pattern) continue;
        unsubscribe_one(c, name_of(c->subscriptions[i - 1]), pattern);
        any = true;
    }
    if (c->argc == 1 && !any) {
        put_array(c, 3);
        put_string(c, pattern ? "punsubscribe" : "unsubscribe");
        put_nil(c);
        put_int(c, (int64_t)c->subscribed);
    }
}
static void do_subscribe(client *c) { subscribe_all(c, false); }
static void do_psubscribe(client *c) { subscribe_all(c, true); }
static void do_unsubscribe(client *c) { unsubscribe_all(c, false); }
static void do_punsubscribe(client *c) { unsubscribe_all(c, true); }

static void do_quit(client *c)
{
    PUT(c, "+OK\r\n");
    c->closing = true;
}
static void do_shutdown(client *c)
{
    c->closing = true;   // no answer: the end of the connection is
    if (app.stop) crt_cancel_token_cancel(app.stop);
}
static void do_command(client *c);

typedef struct command {
    const char *name;
    int arity;         // arguments with the name; negative: at least
    void (*run)(client *c);
    bool subscribed;   // also for subscribers
} command;
static const command commands[] = {
    {"append", 3, do_append, false}, {"client", -2, do_client, false}, {"command", -1, do_command, false},
    {"config", -2, do_config, false}, {"dbsize", 1, do_dbsize, false}, {"decr", 2, do_decr, false},
    {"decrby", 3, do_decrby, false}, {"del", -2, do_del, false}, {"echo", 2, do_echo, false},
    {"exists", -2, do_exists, false}, {"expire", -3, do_expire, false}, {"flushall", -1, do_flush, false},
    {"flushdb", -1, do_flush, false}, {"get", 2, do_get, false}, {"hello", -1, do_hello, false},
    {"incr", 2, do_incr, false}, {"incrby", 3, do_incrby, false}, {"info", -1, do_info, false},
    {"keys", 2, do_keys, false}, {"mget", -2, do_mget, false}, {"mset", -3, do_mset, false},
    {"persist", 2, do_persist, false}, {"pexpire", -3, do_pexpire, false}, {"ping", -1, do_ping, true},
    {"psubscribe", -2, do_psubscribe, true}, {"pttl", 2, do_pttl, false}, {"publish", 3, do_publish, false},
    {"punsubscribe", -1, do_punsubscribe, true}, {"quit", -1, do_quit, true}, {"select", 2, do_select, false},
    {"set", -3, do_set, false}, {"shutdown", -1, do_shutdown, false}, {"strlen", 2, do_strlen, false},
    {"subscribe", -2, do_subscribe, true}, {"ttl", 2, do_ttl, false}, {"type", 2, do_type, false},
    {"unlink", -2, do_del, false}, {"unsubscribe", -1, do_unsubscribe, true},
};
enum { COMMANDS = sizeof commands / sizeof commands[0], COMMAND_LONGEST = 12, COMMAND_SLOTS = 256 };
static unsigned char command_slots[COMMAND_SLOTS];   // an index and one, by hash; 0: empty

static unsigned command_hash(const char *name, size_t n)
{
    unsigned h = (unsigned)n;
    for (size_t i = 0; i < n; i++) h = h * 31 + (unsigned char)name[i];
    return (h ^ h >> 8) % COMMAND_SLOTS;
}
static void commands_init(void)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        unsigned h = command_hash(commands[i].name, strlen(commands[i].name));
        while (command_slots[h]) h = (h + 1) % COMMAND_SLOTS;
        command_slots[h] = (unsigned char)(i + 1);
    }
}
static const command *command_find(text name)
{
    char lower[COMMAND_LONGEST];
    if (name.length == 0 || name.length > sizeof lower) return NULL;
    for (size_t i = 0; i < name.length; i++) {
        lower[i] = (char)tolower((unsigned char)name.data[i]);
        if (!lower[i]) return NULL;   // strncmp below would stop at it, short of the length
    }
    for (unsigned h = command_hash(lower, name.length); command_slots[h]; h = (h + 1) % COMMAND_SLOTS) {
        const command *found = &commands[command_slots[h] - 1];
        if (strncmp(found->name, lower, name.length) == 0 && found->name[name.length] == '\0') return found;
    }
    return NULL;
}
static void do_command(client *c)
{
    if (c->argc == 2 && arg_is(c, 1, "count")) {
        put_int(c, COMMANDS);
    } else if (c->argc > 1) {   // DOCS and others: nothing known
        put_array(c, 0);
    } else {
        put_array(c, COMMANDS);
        for (size_t i = 0; i < COMMANDS; i++) {
            put_array(c, 6);
            put_string(c, commands[i].name);
            put_int(c, commands[i].arity);
            PUT(c, "*0\r\n:0\r\n:0\r\n:0\r\n");
        }
    }
}
// As Redis quotes what it does not know: 128 bytes of the name, and of the arguments.
static void put_unknown(client *c)
{
    char args[160] = "";
    int n = 0;
    const int shown = (int)(c->args[0].length > 128 ? 128 : c->args[0].length);
    for (size_t i = 1; i < c->argc && n < 128; i++) {
        const size_t most = (size_t)(128 - n), length = c->args[i].length;
        n += snprintf(args + n, sizeof args - (size_t)n, "'%.*s' ", (int)(length > most ? most : length),
                      arg_text(c, i).data);
    }
    put_error(c, "ERR unknown command '%.*s', with args beginning with: %s", shown, arg_text(c, 0).data, args);
}
static void run_command(client *c)
{
    const command *found = command_find(arg_text(c, 0));
    c->mark = c->out.length;
    c->executed++;
    if (!found && (arg_is(c, 0, "post") || arg_is(c, 0, "host:"))) {
        c->closing = true;   // HTTP: a web page must not get at this server
    } else if (!found) {
        put_unknown(c);
    } else if (found->arity > 0 ? c->argc != (size_t)found->arity : c->argc < (size_t)-found->arity) {
        put_error(c, "ERR wrong number of arguments for '%s' command", found->name);
    } else if (c->subscribed && !found->subscribed) {
        put_error(c, "ERR Can't execute '%s': only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT are allowed in this context",
                  found->name);
    } else {
        found->run(c);
    }
}
// The command in args, or more of the KEYS that it is.
static void execute(client *c)
{
    if (c->scan) scan_on(c);
    else run_command(c);
    if (!c->broken) return;
    // Too long for its limit, or for that of all clients: say so in its place.
    c->out.length = c->mark;
    c->broken = false;
    put_error(c, "ERR the answer is too long");
    if (c->broken) c->closing = true;
}

// ---- The parser ---------------------------------------------------------------
// Goes on where it stopped when more bytes have come: nothing is looked at twice but
// the line that was not complete, which is short.

static void client_init(client *c)
{
    c->bulks = c->bulk = -1;
    c->id = atomic_fetch_add(&app.next_id, 1) + 1;
}
static void args_free(client *c)
{
    memory_free(c->args, c->args_room * sizeof *c->args);
    c->args = NULL;
    c->argc = c->args_room = 0;
}
static void client_release(client *c)   // what an idle one does not need
{
    buffer_free(&c->in);
    buffer_free(&c->out);
    args_free(c);
}
static void client_drop(client *c)
{
    while (c->subscribed) unsubscribe(c, c->subscribed - 1);
    if (c->subscriptions) memory_free(c->subscriptions, SUBSCRIPTIONS_MAX * sizeof *c->subscriptions);
    c->subscriptions = NULL;
    crt_mpsc_tx_drop(&c->mail);
    crt_mpsc_rx_drop(&c->news);
    scan_end(c);
    client_release(c);
}
static bool protocol_error(client *c, const char *what)
{
    put_error(c, "ERR Protocol error: %s", what);
    c->closing = true;
    return false;
}
static bool args_push(client *c, size_t at, size_t length)
{
    if (c->argc == c->args_room) {
        const size_t room = c->args_room ? c->args_room * 2 : 8;
        arg *args = memory_grow(c->args, c->args_room * sizeof *args, room * sizeof *args, BUFFER_FIRST);
        if (!args) return protocol_error(c, no_memory);
        c->args = args;
        c->args_room = room;
    }
    c->args[c->argc++] = (arg){at, length};
    return true;
}
// The line at c->at without its end; c->at moves behind it. False: it is not all here,
// or an error.
static bool next_line(client *c, size_t most, text *line)
{
    const char *start = c->in.data + c->at;
    const size_t have = c->in.length - c->at;
    const char *end = memchr(start, '\n', have < most ? have : most);
    if (!end) return have < most ? false : protocol_error(c, "too big inline request");
    *line = (text){start, (size_t)(end - start)};
    if (line->length > 0 && end[-1] == '\r') line->length--;
    c->at += (size_t)(end - start) + 1;
    return true;
}
static int hex_digit(char ch)
{
    return ch >= '0' && ch <= '9' ? ch - '0' : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10 : -1;
}
// One word of an inline command, unquoted in its place; *p moves behind it. Its length, or -1.
static ptrdiff_t inline_word(char **p, const char *end)
{
    char *in = *p, *out = *p, *const start = *p;
    while (in < end && !isspace((unsigned char)*in)) {
        const char quote = *in;
        if (quote != '"' && quote != '\'') {
            *out++ = *in++;
            continue;
        }
        for (in++; in < end && *in != quote; in++) {
            if (*in == '\\' && in + 1 < end && quote == '"') {
                in++;
                if (*in == 'x' && in + 2 < end && hex_digit(in[1]) >= 0 && hex_digit(in[2]) >= 0) {
                    *out++ = (char)(hex_digit(in[1]) * 16 + hex_digit(in[2]));
                    in += 2;
                } else {
                    *out++ = *in == 'n' ? '\n' : *in == 'r' ? '\r' : *in == 't' ? '\t' : *in == 'a' ? '\a' : *in == 'b' ? '\b' : *in;
                }
            } else if (*in == '\\' && in + 1 < end && in[1] == '\'') {
                *out++ = *++in;
            } else {
                *out++ = *in;
            }
        }
        if (in == end || (in + 1 < end && !isspace((unsigned char)in[1]))) return -1;
        in++;
    }
    *p = in;
    return out - start;
}
static bool parse_inline(client *c)
{
    text line = {NULL, 0};
    if (!next_line(c, INLINE_MAX, &line)) return false;
    char *p = c->in.data + (line.data - c->in.data), *end = p + line.length;
    for (;;) {
        while (p < end && isspace((unsigned char)*p)) p++;
        if (p == end) return true;
        const size_t at = (size_t)(p - c->in.data) - c->begin;
        const ptrdiff_t n = inline_word(&p, end);
        if (n < 0) return protocol_error(c, "unbalanced quotes in request");
        if (!args_push(c, at, (size_t)n)) return false;
    }
}
// A number after '*' or '$', -1 for all below 0. -2: it is not all here, or an error. For
// Redis the line ends at a CR, whatever stands before it.
static long parse_count(client *c, char type, long most, const char *what)
{
    int64_t n;
    const char *start = c->in.data + c->at;
    const size_t have = c->in.length - c->at;
    const char got = *start;
    if (got != type) {
        char reason[] = "expected '$', got ' '";
        reason[sizeof reason - 3] = got;
        protocol_error(c, reason);
        return -2;
    }
    const char *end = memchr(start, '\r', have < 64 ? have : 64);
    if (end ? end + 1 == start + have : have < 64) return -2;
    if (end && end[1] == '\n' && parse_int((text){start + 1, (size_t)(end - start - 1)}, &n) && n <= most) {
        c->at += (size_t)(end - start) + 2;
        return n < 0 ? -1 : (long)n;
    }
    protocol_error(c, what);
    return -2;
}
// True: a whole command is in args (none: an empty line, to be passed over).
static bool parse(client *c)
{
    if (c->at == c->in.length) return false;
    if (c->bulks < 0) {
        c->argc = 0;
        if (c->in.data[c->at] != '*') return parse_inline(c);
        c->bulks = parse_count(c, '*', ARGS_MAX, "invalid multibulk length");
        if (c->bulks == -2) return false;
        if (c->bulks <= 0) {
            c->bulks = -1;
            return true;
        }
    }
    while (c->bulks > 0) {
        if (c->bulk < 0) {
            if (c->at == c->in.length) return false;
            c->bulk = parse_count(c, '$', BULK_MAX, "invalid bulk length");
            if (c->bulk == -1) protocol_error(c, "invalid bulk length");
            if (c->bulk < 0) return false;
        }
        const size_t n = (size_t)c->bulk;
        if (c->in.length - c->at < n + 2) return false;
        if (c->in.data[c->at + n] != '\r' || c->in.data[c->at + n + 1] != '\n')
            return protocol_error(c, "a bulk does not end where it should");
        if (!args_push(c, c->at - c->begin, n)) return false;
        c->at += n + 2;
        c->bulk = -1;
        c->bulks--;
    }
    c->bulks = -1;
    return true;
}
// Executes the commands that are here, until their answers are worth a write or others
// should have their turn: true, and there may be more. (The last answer is to be sent later
// if c->scan is set.) False: none is left, and the rest is moved to the front.
static bool client_run(client *c, crt_instant now)
{
    c->now = now;
    c->work = 0;
    bool more = true;
    while (more && !c->closing && c->work < RUN_WORK && (c->scan || c->out.length < OUT_FLUSH)) {
        if (!c->scan) {
            if (!buffer_reserve(&c->out, ANSWER_LEAST, OUT_MAX)) {   // once the answers so far have left
                if (c->out.length == 0) c->closing = true;
                break;
            }
            more = parse(c);
            if (!more) break;
            charge(c, c->at - c->begin + 32 * (1 + c->argc));
        }
        if (c->argc > 0) execute(c);
        if (c->scan) continue;
        c->begin = c->at;
        c->progress = true;
    }
    if (c->executed) atomic_fetch_add_explicit(&app.commands, c->executed, memory_order_relaxed);
    c->executed = 0;
    if (more && !c->closing) return true;
    if (c->begin > 0) {
        c->in.length -= c->begin;
        memmove(c->in.data, c->in.data + c->begin, c->in.length);
        c->at -= c->begin;
        c->begin = 0;
    }
    buffer_fit(&c->in);
    if (c->bulks < 0 && c->args_room > 1024) args_free(c);
    return false;
}
// Room to read into. False: the command is too long, or all clients together are.
static bool client_room(client *c)
{
    if (c->in.length < c->in.room || buffer_reserve(&c->in, 1, IN_MAX)) return true;
    return protocol_error(c, c->in.length >= IN_MAX / 2 ? "too big a command" : no_memory);
}

// ---- A connection -------------------------------------------------------------

typedef struct conn {
    crt_frame co;
    crt_stream *peer;
    client *c;
    CRT_SELECT(5) sel;
    crt_timer timer;
    crt_instant deadline, last;
    message *news[NEWS_BATCH];
    crt_poll n, got, which;
} conn;

// Appends what the hub has sent. False: the client is too slow, or there is no memory for it.
static bool take_news(conn *self, size_t count)
{
    client *c = self->c;
    const bool ok = !atomic_load(&c->overflow);
    c->mark = c->out.length;
    for (size_t i = 0; i < count; i++) put_message(c, self->news[i]);
    return ok && !c->broken;
}

static crt_poll conn_run(void *frame, crt_cx *cx)
{
    conn *self = frame;
    CRT_BEGIN(self, cx);
    self->c = calloc(1, sizeof *self->c);
    if (!self->c) CRT_RETURN(0);
    client_init(self->c);
    self->last = crt_now(cx);
    while (!self->c->closing && !crt_cancel_token_is_cancelled(app.stop)) {
        // A part of a command is here: the rest of it has a deadline. None: this client
        // is idle; it loses its buffers after a second and the connection after a while.
        if (self->c->in.length == 0) self->deadline = self->last + (self->c->in.room ? RELEASE_TIME
                                                 : app.timeout && !self->c->subscribed ? app.timeout : CRT_SEC(1000000));
        CRT_AWAIT(self->which = crt_select_biased(cx, &self->sel,
            crt_on_if(cx, 0, self->c->in.room > 0, self->n = crt_read(cx, self->peer,
                self->c->in.data + self->c->in.length, self->c->in.room - self->c->in.length)),
            crt_on_if(cx, 1, self->c->in.room == 0, self->n = crt_readable(cx, self->peer)),
            crt_on_if(cx, 2, self->c->news != NULL, self->got = crt_mpsc_recv_many(cx, self->c->news, self->news, NEWS_BATCH)),
            crt_on(cx, 3, crt_cancelled(cx, app.stop)),
            crt_on(cx, 4, crt_sleep_until(cx, self->deadline))));
        if (self->which == 3) break;
        if (self->which == 4) {
            if (self->c->in.length > 0 || self->c->in.room == 0) break;
            client_release(self->c);
            continue;
        }
        self->last = crt_now(cx);
        if (self->which == 2) {
            if (self->got < 0 || !take_news(self, (size_t)self->got)) break;
        } else {
            if (self->n < 0 || (self->which == 0 && self->n == 0)) break;
            if (self->c->in.length == 0) self->c->progress = true;   // a new command begins
            self->c->in.length += self->which == 0 ? (size_t)self->n : 0;
        }
        // Answer all that is here; the answers leave together. If it is much, others have a
        // turn in between; STOP_TIMEOUT ends it as well.
        do {
            self->last = crt_now(cx);
            self->got = client_run(self->c, self->last);
            if (self->c->out.length > 0 && !self->c->scan) {
                CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, WRITE_TIMEOUT,
                    crt_write_all(cx, self->peer, self->c->out.data, self->c->out.length)));
                if (self->n < 0) CRT_RETURN(0);
                self->c->out.length = 0;
                if (self->c->out.room > 4 * OUT_FLUSH) buffer_free(&self->c->out);
            }
            if (self->got) CRT_YIELD();
        } while (self->got);
        if (self->c->progress) self->deadline = self->last + COMMAND_TIMEOUT;
        self->c->progress = false;
        if (!self->c->closing && !client_room(self->c)) {
            CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, WRITE_TIMEOUT,
                crt_write_all(cx, self->peer, self->c->out.data, self->c->out.length)));
        }
    }
    // To close with bytes of the peer unread would reset the connection and could
    // destroy our last answer on its way: say that we are done, and throw away what
    // still comes, for a moment.
    CRT_AWAIT(self->n = crt_shutdown(cx, self->peer));
    self->deadline = crt_now(cx) + LINGER_TIMEOUT;
    self->c->in.length = 0;
    while (buffer_reserve(&self->c->in, 1, IN_MAX)) {
        CRT_AWAIT(self->n = crt_timeout_at(cx, &self->timer, self->deadline,
            crt_read(cx, self->peer, self->c->in.data, self->c->in.room)));
        if (self->n <= 0) break;
    }
    CRT_RETURN(0);
    CRT_FINALLY
        if (self->c) client_drop(self->c);
        free(self->c);
        self->c = NULL;
        crt_close(&self->peer);
        atomic_fetch_sub(&app.connections, 1);
        crt_semaphore_release(&app.slots, 1);
    CRT_END;
}

// ---- The server ---------------------------------------------------------------

typedef struct sweeper {
    crt_frame co;
    crt_interval interval;
} sweeper;

static crt_poll sweeper_run(void *frame, crt_cx *cx)
{
    sweeper *self = frame;
    CRT_BEGIN(self, cx);
    crt_interval_init(&self->interval, SWEEP_PERIOD, CRT_SKIP);
    for (;;) {
        CRT_AWAIT(crt_interval_tick(cx, &self->interval));
        store_sweep(crt_now(cx));
    }
    CRT_END;
}

typedef struct acceptor {
    crt_frame co;
    crt_listener *listener;
    crt_stream *peer;
    crt_poll n;
} acceptor;

static crt_poll acceptor_run(void *frame, crt_cx *cx)
{
    static const char full[] = "-ERR max number of clients reached\r\n";
    acceptor *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->n = crt_accept(cx, self->listener, &self->peer, NULL));
        if (self->n < 0) {
            fprintf(stderr, "accept: %s\n", crt_strerror((int)self->n));
            CRT_AWAIT(crt_sleep(cx, CRT_MS(20)));
            continue;
        }
        if (crt_semaphore_try_acquire(&app.slots, 1) == 0) {
            atomic_fetch_add(&app.connections, 1);
            atomic_fetch_add(&app.connections_total, 1);
            self->n = crt_task_tracker_spawn(cx, app.tracker, conn_run, &(conn){.peer = self->peer});
            if (self->n == 0) {
                self->peer = NULL;
                continue;
            }
            atomic_fetch_sub(&app.connections, 1);
            crt_semaphore_release(&app.slots, 1);
        }
        (void)crt_try_write(self->peer, full, sizeof full - 1);
        atomic_fetch_add(&app.refused, 1);
        crt_close(&self->peer);
    }
    CRT_FINALLY
        crt_close(&self->peer);
        crt_close(&self->listener);
    CRT_END;
}

typedef struct server {
    crt_frame co;
    acceptor acceptor;
    char address[32];
    crt_join_handle *sweeper;
    CRT_SELECT(4) sel;
    crt_timer timer;
    crt_poll n, which, ends[4];
} server;

static crt_poll server_run(void *frame, crt_cx *cx)
{
    server *self = frame;
    CRT_BEGIN(self, cx);
    app.started = crt_now(cx);
    self->n = crt_spawn_join(cx, &self->sweeper, sweeper_run, &(sweeper){0});
    if (self->n < 0) CRT_RETURN(self->n);
    // The first call switches the default action off and tells whether signals work; what
    // comes from now on is kept for the calls below.
    CRT_AWAIT(self->ends[1] = crt_timeout(cx, &self->timer, 0, crt_ctrl_c(cx)));
    CRT_AWAIT(self->ends[2] = crt_timeout(cx, &self->timer, 0, crt_signal_recv(cx, SIGTERM)));
    for (int i = 1; i <= 2; i++) {
        if (self->ends[i] == CRT_ETIMEDOUT) continue;
        if (self->ends[i] < 0) fprintf(stderr, "signals: %s\n", crt_strerror((int)self->ends[i]));
        CRT_RETURN(self->ends[i]);   // 0: it has come already
    }
    snprintf(self->address, sizeof self->address, "127.0.0.1:%ld", app.port);
    CRT_AWAIT(self->n = crt_tcp_listen(cx, self->address, NULL, &self->acceptor.listener));
    if (self->n < 0) {
        fprintf(stderr, "%s: %s\n", self->address, crt_strerror((int)self->n));
        CRT_RETURN(self->n);
    }
    {
        crt_addr local;
        if (crt_local_addr(self->acceptor.listener, &local) == 0) app.port = crt_addr_port(&local);
        printf("ready on 127.0.0.1:%ld, %zu clients, %zu MiB of keys; Ctrl-C to stop\n", app.port, app.maxclients,
               app.maxmemory >> 20);
    }
    CRT_AWAIT(self->which = crt_select(cx, &self->sel,
        crt_on(cx, 0, self->ends[0] = acceptor_run(&self->acceptor, cx)),
        crt_on(cx, 1, self->ends[1] = crt_ctrl_c(cx)),
        crt_on(cx, 2, self->ends[2] = crt_signal_recv(cx, SIGTERM)),
        crt_on(cx, 3, self->ends[3] = crt_cancelled(cx, app.stop))));
    if (self->ends[self->which] < 0) fprintf(stderr, "waiting: %s\n", crt_strerror((int)self->ends[self->which]));
    printf("stopping, %lld clients connected\n", atomic_load(&app.connections));
    crt_cancel_token_cancel(app.stop);
    crt_task_tracker_close(app.tracker);
    CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, STOP_TIMEOUT, crt_task_tracker_wait(cx, app.tracker)));
    printf("stopped, %llu commands, %lld clients cut off\n", (unsigned long long)atomic_load(&app.commands),
           atomic_load(&app.connections));
    CRT_RETURN(self->ends[self->which]);
    CRT_FINALLY
        if (self->sweeper) crt_abort(self->sweeper);
        crt_detach(&self->sweeper);
        crt_close(&self->acceptor.listener);
    CRT_END;
}

static void store_init(void)
{
    commands_init();
    for (int i = 0; i < SHARDS; i++) pthread_mutex_init(&shards[i].lock, NULL);
    FILE *random = fopen("/dev/urandom", "rb");
    if (!random || fread(app.hash_key, sizeof app.hash_key, 1, random) != 1)
        app.hash_key[0] = (uint64_t)(uintptr_t)&random;
    if (random) fclose(random);
}

// Not more clients than the system lets us have descriptors.
static size_t client_limit(size_t wanted)
{
#ifdef _WIN32
    return wanted;
#else
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted < 900 ? wanted : 900;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < 128) return wanted < 16 ? wanted : 16;
    return wanted < limit.rlim_cur - 64 ? wanted : (size_t)limit.rlim_cur - 64;
#endif
}

int main(int argc, char **argv)
{
    long long workers = 0, seconds = app.timeout / CRT_SEC(1), memory = (long long)app.maxmemory, port = app.port,
              clients = (long long)app.maxclients;
    const struct { const char *name; long long *value, low, high; } options[] = {
        {"--port", &port, 0, 65535}, {"--workers", &workers, 0, 1024}, {"--maxmemory", &memory, 1 << 16, 1LL << 40},
        {"--maxclients", &clients, 1, 1000000}, {"--timeout", &seconds, 0, 1000000},
    };
    for (int i = 1; i < argc; i += 2) {
        bool ok = false;
        for (size_t k = 0; k < sizeof options / sizeof options[0] && i + 1 < argc; k++) {
            char *end;
            if (strcmp(argv[i], options[k].name) != 0) continue;
            errno = 0;
            *options[k].value = strtoll(argv[i + 1], &end, 10);
            ok = !errno && end != argv[i + 1] && !*end && *options[k].value >= options[k].low && *options[k].value <= options[k].high;
        }
        if (ok) continue;
        fprintf(stderr, "usage: mini_redis [--port N] [--workers N] [--maxmemory BYTES] [--maxclients N] [--timeout SECONDS]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    app.port = (long)port;
    app.maxmemory = (size_t)memory;
    app.maxclients = client_limit((size_t)clients);
    app.timeout = CRT_SEC(seconds);
    crt_semaphore_init(&app.slots, app.maxclients);
    store_init();

    const crt_config config = {.worker_threads = (int)workers};
    int e = crt_runtime_new(&config, &app.rt);
    app.stop = crt_cancel_token_new();
    app.tracker = crt_task_tracker_new();
    if (e < 0 || !app.stop || !app.tracker) {
        fprintf(stderr, "runtime: %s\n", crt_strerror(e < 0 ? e : CRT_ENOMEM));
        return 1;
    }
    server frame = {0};
    e = (int)crt_block_on(app.rt, server_run, &frame);
    crt_runtime_shutdown(app.rt, CRT_MS(300));   // cancels whatever is left
    crt_runtime_drop(&app.rt);
    crt_cancel_token_drop(&app.stop);
    crt_task_tracker_drop(&app.tracker);
    store_flush();
    return e < 0;
}
