// fuzz_redis.c: examples/mini_redis.c under random and mutated bytes.
//
// Two programs in one file:
//   libFuzzer     clang -DLIBFUZZER -fsanitize=fuzzer,address,undefined: the parser and
//                 every command, called directly. The first byte of an input says in what
//                 pieces the rest arrives; the answers must be well-formed RESP whatever
//                 came, and the same however it was cut up.
//   over sockets  the program itself as its users meet it, built with ASan and UBSan:
//                 ./fuzz_redis [seconds] [seed]   starts its server in this process and
//                 sends it what many short connections make of a grammar, mutated; cut
//                 off, reset, stalled, half-closed. It must go on answering PING, its
//                 memory must stay within bounds, and it must end cleanly on SIGINT.
// A failure prints the seed. Run both with: sh tests/fuzz_redis.sh [seconds]

#define main mini_redis_main
#include "../examples/mini_redis.c"
#undef main

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifdef LIBFUZZER

// ---- What an answer must look like ------------------------------------------------

// The end of one RESP2 value, or NULL.
static const char *value_end(const char *p, const char *end, int depth)
{
    const char *line = p < end ? memchr(p, '\r', (size_t)(end - p)) : NULL;
    if (!line || line + 1 >= end || line[1] != '\n' || depth > 4) return NULL;
    const char type = *p, *after = line + 2;
    if (type == '+' || type == '-') return memchr(p, '\n', (size_t)(line - p)) ? NULL : after;
    if (type != ':' && type != '$' && type != '*') return NULL;
    char *stop;
    const long long n = strtoll(p + 1, &stop, 10);
    if (stop != line) return NULL;
    if (type == ':') return after;
    if (type == '$') return n == -1 ? after : n >= 0 && n + 2 <= end - after && after[n] == '\r' && after[n + 1] == '\n' ? after + n + 2 : NULL;
    for (long long i = 0; i < n && after; i++) after = value_end(after, end, depth + 1);
    return n >= 0 ? after : NULL;
}

static void check_values(const char *data, size_t n)
{
    const char *at = data;
    while (n > 0 && at < data + n) {
        at = value_end(at, data + n, 0);
        if (at) continue;
        fprintf(stderr, "not RESP: %.*s\n", (int)n, data);
        abort();
    }
}

// ---- Calling it directly ----------------------------------------------------------

static char transcript[1 << 20];

// Feeds it in pieces of at most `piece` bytes; what it answered goes to transcript.
static size_t feed(const unsigned char *data, size_t size, size_t piece)
{
    static client c, ear;   // `ear` hears what c publishes
    size_t answered = 0;
    memset(&ear, 0, sizeof ear);
    client_init(&ear);
    if (subscribe(&ear, text_of("a"), false) < 0 || subscribe(&ear, text_of("*"), true) < 0) abort();
    store_flush();
    memset(&c, 0, sizeof c);
    atomic_store(&app.next_id, 0);
    client_init(&c);
    for (size_t at = 0; at < size && !c.closing;) {
        if (!client_room(&c)) break;
        size_t n = size - at < piece ? size - at : piece;
        if (n > c.in.room - c.in.length) n = c.in.room - c.in.length;
        memcpy(c.in.data + c.in.length, data + at, n);
        c.in.length += n;
        at += n;
        bool more;
        do {
            more = client_run(&c, CRT_SEC(1000));
            if (c.scan) continue;   // a KEYS that goes on; its answer is not whole
            check_values(c.out.data, c.out.length);
            if (c.out.length > 0 && c.out.length <= sizeof transcript - answered) {
                memcpy(transcript + answered, c.out.data, c.out.length);
                answered += c.out.length;
            }
            c.out.length = 0;
            message *m;
            while (crt_mpsc_try_recv(ear.news, &m) == 0) {
                check_values(m->bytes, m->length);
                atomic_fetch_sub(&ear.waiting, m->length + sizeof *m);
                message_drop(m);
            }
        } while (more);
        if (c.begin != 0 || c.at > c.in.length) abort();   // client_run's promise
    }
    client_drop(&c);
    client_drop(&ear);
    if (atomic_load(&app.buffered) != 0) abort();
    return answered;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    store_init();
    app.hash_key[0] = app.hash_key[1] = 1;   // KEYS in the same order each time
    return 0;
}
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char whole[sizeof transcript];
    if (size < 2) return 0;
    const size_t all = feed(data + 1, size - 1, size);
    memcpy(whole, transcript, all);
    const size_t cut = feed(data + 1, size - 1, (size_t)data[0] % 16 + 1);
    // INFO counts commands; all else is the same.
    if (cut != all || memcmp(whole, transcript, all) != 0) {
        static const char info[] = "# Server";
        for (size_t i = 0; i + sizeof info < all; i++)
            if (memcmp(whole + i, info, sizeof info - 1) == 0) return 0;
        fprintf(stderr, "cut up, it is answered differently:\n%.*s\n--\n%.*s\n", (int)all, whole, (int)cut, transcript);
        abort();
    }
    return 0;
}

#else

// ---- Over sockets -----------------------------------------------------------------

static const char *const seeds[] = {
    "*1\r\n$4\r\nPING\r\n", "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nhello\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
    "*5\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n$2\r\nEX\r\n$2\r\n10\r\n*2\r\n$3\r\nTTL\r\n$1\r\na\r\n", "SET k \"a\\x41\\n\" NX GET\r\nINCR n\r\nINCRBY n -9223372036854775808\r\n",
    "MSET a 1 b 2 c 3\r\nMGET a b nope\r\nDEL a b\r\nEXISTS a c\r\n", "APPEND t xyz\r\nAPPEND t xyz\r\nSTRLEN t\r\nTYPE t\r\nPERSIST t\r\nPEXPIRE t 100000\r\nPTTL t\r\n",
    "KEYS *\r\nKEYS h[a-e]*\\?x\r\nDBSIZE\r\nFLUSHALL\r\nSELECT 0\r\n", "SUBSCRIBE a b\r\nPSUBSCRIBE a*\r\nPING\r\nUNSUBSCRIBE a\r\nPUNSUBSCRIBE\r\nUNSUBSCRIBE\r\nPUBLISH a hi\r\n",
    "HELLO 2 SETNAME me\r\nHELLO 3\r\nCLIENT GETNAME\r\nCLIENT SETINFO LIB-NAME x\r\nCONFIG GET *\r\nCOMMAND\r\nQUIT\r\n",
    "*2\r\n$3\r\nGET\r\n$-1\r\n", "*-1\r\n*0\r\n\r\n*1048577\r\n", "ECHO 'it\\'s' \"un\r\n", "EXPIRE a -1\r\nDECRBY a 5\r\nDECR a\r\nINFO\r\n",
};
enum { SEEDS = sizeof seeds / sizeof seeds[0] };

static uint64_t random_state;
static uint32_t random_next(uint32_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((random_state >> 33) % below);
}
// Bytes to send: some seeds in a row, or a long bulk, mutated. Their number.
static size_t invent(char *out, size_t room)
{
    static const char *const words[] = {"*", "$", "\r\n", "-1", "99999999999", "0", "SET", "GET", "\"", "'", "\\x", "*3\r\n", "$4\r\n", "SUBSCRIBE ", "PUBLISH a ", "\n", "KEYS [", "APPEND t "};
    size_t n = 0;
    if (random_next(8) == 0) {   // pure noise
        n = random_next((uint32_t)room / 8) + 1;
        for (size_t i = 0; i < n; i++) out[i] = (char)random_next(256);
        return n;
    }
    if (random_next(16) == 0) {   // a value that nearly is as long as it says
        const unsigned length = random_next((uint32_t)room / 2), off = random_next(3);
        n = (size_t)sprintf(out, "*3\r\n$3\r\nSET\r\n$4\r\nk%03u\r\n$%u\r\n", random_next(1000), length + off);
        memset(out + n, 'v', length);
        return n + length;
    }
    for (uint32_t i = random_next(12) + 1; i > 0; i--) {
        const char *seed = seeds[random_next(SEEDS)];
        const size_t length = strlen(seed);
        if (n + length > room / 2) break;
        memcpy(out + n, seed, length);
        n += length;
    }
    for (uint32_t i = random_next(6); i > 0 && n > 0; i--) {
        const size_t at = random_next((uint32_t)n);
        const char *word = words[random_next(sizeof words / sizeof words[0])];
        const size_t length = strlen(word), cut = random_next((uint32_t)(n - at < 20 ? n - at : 20) + 1);
        switch (random_next(4)) {
        case 0: out[at] = (char)random_next(256); break;
        case 1: out[at] ^= (char)(1u << random_next(8)); break;
        case 2:
            memmove(out + at + length, out + at, n - at);
            memcpy(out + at, word, length);
            n += length;
            break;
        default:
            memmove(out + at, out + at + cut, n - at - cut);
            n -= cut;
        }
    }
    return n;
}
static int dial(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)app.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval limit = {.tv_sec = 5};
    if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0) return fd;
    if (fd >= 0) close(fd);
    return -1;
}
static long resident_kib(void)
{
    long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%ld %ld", &pages, &resident) != 2) resident = 0;
    if (f) fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}
static bool answers_ping(void)
{
    char got[8] = "";
    const int fd = dial();
    if (fd < 0) return false;
    const bool ok = write(fd, "PING\r\n", 6) == 6 && recv(fd, got, 7, MSG_WAITALL) == 7 && memcmp(got, "+PONG\r\n", 7) == 0;
    close(fd);
    return ok;
}
static void *serve(void *status)
{
    char *arguments[] = {"mini_redis", "--port", "0", "--maxmemory", "8000000", "--maxclients", "100", "--timeout", "2", NULL};
    *(int *)status = mini_redis_main(9, arguments);
    return NULL;
}

int main(int argc, char **argv)
{
    enum { OPEN = 16, ROOM = 256 * 1024 };
    static char bytes[ROOM], sink[65536];
    const long seconds = argc > 1 ? strtol(argv[1], NULL, 10) : 10;
    const uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL);
    int fds[OPEN], status = -1, failed = 0;
    pthread_t thread;
    random_state = seed;
    printf("seed %llu\n", (unsigned long long)seed);
    signal(SIGPIPE, SIG_IGN);
    app.port = 0;
    pthread_create(&thread, NULL, serve, &status);
    for (int i = 0; i < 1000 && !(app.port && answers_ping()); i++) usleep(10000);
    if (!answers_ping()) {
        puts("it does not start");
        return 1;
    }
    for (int i = 0; i < OPEN; i++) fds[i] = -1;
    unsigned long long connections = 0, sent = 0, received = 0;
    long first = 0, most = 0;
    const time_t end = time(NULL) + seconds, warm = time(NULL) + (seconds > 20 ? 10 : seconds / 2);
    for (unsigned long long turn = 0; time(NULL) < end && !failed; turn++) {
        int *fd = &fds[random_next(OPEN)];
        if (*fd < 0) {
            *fd = dial();
            connections++;
            if (*fd < 0) continue;
        }
        const size_t n = invent(bytes, ROOM);
        size_t at = 0;
        while (at < n) {   // in pieces; what does not fit now is lost
            const size_t piece = random_next(3) ? n - at : random_next((uint32_t)(n - at)) + 1;
            const ssize_t w = send(*fd, bytes + at, piece, MSG_DONTWAIT);
            if (w <= 0) break;
            at += (size_t)w;
            sent += (size_t)w;
        }
        if (random_next(4) != 0) {   // some never read
            ssize_t r;
            while ((r = recv(*fd, sink, sizeof sink, MSG_DONTWAIT)) > 0) received += (size_t)r;
        }
        switch (random_next(6)) {
        case 0: {   // reset
            const struct linger reset = {.l_onoff = 1, .l_linger = 0};
            setsockopt(*fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
            close(*fd);
            *fd = -1;
            break;
        }
        case 1: shutdown(*fd, SHUT_WR); break;   // half-closed; later writes fail
        case 2:
        case 3:
            close(*fd);
            *fd = -1;
            break;
        default: break;   // goes on later, or idles
        }
        if (turn % 256 == 0) {
            const long now = resident_kib();
            if (now > most) most = now;
            if (!first && time(NULL) >= warm) first = now;
            if (!answers_ping()) {
                // "max number of clients" while our own closed ones are being cleared away is fine.
                bool ok = false;
                for (int i = 0; i < 50 && !ok; i++) {
                    usleep(100000);
                    ok = answers_ping();
                }
                if (!ok) failed = printf("it does not answer PING any more\n");
            }
        }
    }
    for (int i = 0; i < OPEN; i++)
        if (fds[i] >= 0) close(fds[i]);
    const long last = resident_kib();
    if (!first) first = last;
    printf("%llu connections, %llu bytes sent, %llu received, %llu commands; resident KiB: %ld when warm, %ld at the end, %ld at most\n",
           connections, sent, received, (unsigned long long)atomic_load(&app.commands), first, last, most);
    // Keys may fill their 8 MB; a sanitizer keeps freed memory for a while, 256 MB at most.
    if (last > first + 300 * 1024) failed = printf("memory grows\n");
    kill(getpid(), SIGINT);
    pthread_join(thread, NULL);
    if (status != 0) failed = printf("exit status %d\n", status);
    if (atomic_load(&app.buffered) != 0) failed = printf("%zu bytes of clients are left\n", atomic_load(&app.buffered));
    if (failed) printf("FAILED: seed %llu\n", (unsigned long long)seed);
    puts(failed ? "0 passed, 1 failed" : "1 passed, 0 failed");
    return failed != 0;
}
#endif
