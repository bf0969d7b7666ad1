// The HTTP side of the servers in C: finds complete request heads and answers them. tokio/src/main.rs has the same
// lines in Rust (memmem and all), so that the servers differ in their runtime alone.
#ifndef BENCH_HTTP_ANSWER_H
#define BENCH_HTTP_ANSWER_H

#include <string.h>

enum { HTTP_BUFFER = 4096 };   // of a connection: its requests, and its answers

static const char HTTP_OK[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nHello";
static const char HTTP_NOT_FOUND[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

// Writes an answer for each complete head in in[0..n) to out, which has HTTP_BUFFER bytes, while there is room.
// How many bytes of answers; *used: how many of in have been answered.
static inline size_t http_answer(const char *in, size_t n, char *out, size_t *used)
{
    size_t at = 0, written = 0;
    while (written + sizeof HTTP_OK <= HTTP_BUFFER) {
        const char *end = (const char *)memmem(in + at, n - at, "\r\n\r\n", 4);
        if (!end) break;
        int found = n - at >= 6 && !memcmp(in + at, "GET / ", 6);
        const char *answer = found ? HTTP_OK : HTTP_NOT_FOUND;
        size_t size = found ? sizeof HTTP_OK - 1 : sizeof HTTP_NOT_FOUND - 1;
        memcpy(out + written, answer, size);
        written += size;
        at = (size_t)(end + 4 - in);
    }
    *used = at;
    return written;
}

#endif
