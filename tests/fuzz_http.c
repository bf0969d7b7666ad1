// fuzz_http.c: the parser of examples/http_server.c. However a stream of requests is cut up,
// the same requests come out of it; none takes more bytes than there are; every answer
// has a status line, and fits.
#define main http_server_main
#include "../examples/http_server.c"
#undef main
#include "fuzz.h"

typedef struct outcome {
    int status, route;
    bool close, head;
    long sleep_ms;
    size_t n;
} outcome;
enum { HTTP_REQUESTS = 64 };

// The requests in the bytes, which arrive in pieces of at most `piece`.
static size_t requests_in(const char *data, size_t size, size_t piece, outcome *out)
{
    static buffers io;
    size_t count = 0, at = 0, have = 0;
    while (count < HTTP_REQUESTS) {
        request r;
        size_t n = parse_request(data + at, have - at, &r);
        FUZZ_CHECK(n <= have - at);
        if (n == 0) {
            if (have == size) break;
            have = size - have < piece ? size : have + piece;
            continue;
        }
        FUZZ_CHECK(r.status == 200 || (r.status >= 400 && r.status < 600));
        out[count++] = (outcome){r.status, r.status == 200 ? (int)r.route : 0, r.close, r.head, r.status == 200 ? (long)r.sleep_ms : 0, r.status == 200 ? n : 0};
        io.out_length = 0;
        if (r.status == 200) put_text(&io, &r, "text\n");
        else put_error(&io, &r);
        FUZZ_CHECK(io.out_length > 12 && io.out_length <= ANSWER_MAX && !memcmp(io.out, "HTTP/1.1 ", 9));
        at += n;
        if (r.close) break;
    }
    return count;
}
FUZZ(http)
{
    static outcome whole[HTTP_REQUESTS], cut[HTTP_REQUESTS];
    size_t piece = fuzz_choose(16) + 1;
    const char *data = (const char *)fuzz.data + fuzz.at;
    size_t size = fuzz.size - fuzz.at;
    if (size >= HEAD_MAX) size = HEAD_MAX - 1;
    size_t n = requests_in(data, size, size, whole);
    FUZZ_CHECK(requests_in(data, size, piece, cut) == n);
    for (size_t i = 0; i < n; i++)
        FUZZ_CHECK(whole[i].status == cut[i].status && whole[i].route == cut[i].route && whole[i].close == cut[i].close &&
                   whole[i].head == cut[i].head && whole[i].sleep_ms == cut[i].sleep_ms && whole[i].n == cut[i].n);
}
