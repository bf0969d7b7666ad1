// dns_lookup.c: looks names up, all at once, each with a time limit.
//
//     ./dns_lookup [-t milliseconds] NAME ...
//     ./dns_lookup localhost example.org:443 no-such-name.invalid
//
// crt_resolve runs on the blocking pool, because the system's resolver blocks, and no
// more of them at a time than crt_config.max_lookups. A lookup that is out of time is
// left to end unheard: nobody waits for it. Answers are printed as they come; the exit
// status is 1 if a name was not found, or not in time.

#define CRT_IMPLEMENTATION
#include "../crt.h"

#include <stdlib.h>
#include <string.h>

enum { ADDRESSES = 16 };

typedef struct lookup {
    crt_frame co;
    const char *name;
    char host_port[300];
    crt_duration limit;
    crt_instant begun;
    crt_addr found[ADDRESSES];
    crt_timer timer;
    crt_poll n;
} lookup;

static crt_poll lookup_run(void *frame, crt_cx *cx)
{
    lookup *self = frame;
    char line[2048];
    CRT_BEGIN(self, cx);
    self->begun = crt_now(cx);
    CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, self->limit,
        crt_resolve(cx, self->host_port, self->found, ADDRESSES)));
    {
        // The whole line with one call, as other tasks print too.
        size_t used = 0;
        line[0] = '\0';
        for (crt_poll i = 0; i < self->n; i++) {
            char text[64];
            if (crt_addr_format(&self->found[i], text, sizeof text) < 0) continue;
            used += (size_t)snprintf(line + used, sizeof line - used, " %s", text);
        }
        printf("%s:%s%s  (%lld ms)\n", self->name, self->n < 0 ? " " : "", self->n < 0 ? crt_strerror((int)self->n) : line,
               (long long)((crt_now(cx) - self->begun) / CRT_MS(1)));
    }
    CRT_RETURN(self->n > 0 ? 0 : 1);
    CRT_END;
}

typedef struct program {
    crt_frame co;
    int argc;
    char **argv;
    crt_join_set lookups;
    intptr_t result;
    int failed;
    crt_poll r;
} program;

// A port is needed by crt_resolve; a name alone gets 0. A colon that is not in
// brackets, or the only one, is that of a port.
static bool with_port(char *out, size_t room, const char *name)
{
    const char *colon = strrchr(name, ':');
    const bool port = colon && (strchr(name, ':') == colon || colon[-1] == ']');
    const bool bare6 = colon && !port && name[0] != '[';
    const int n = snprintf(out, room, port ? "%s" : bare6 ? "[%s]:0" : "%s:0", name);
    return n > 0 && (size_t)n < room;
}

static crt_poll program_run(void *frame, crt_cx *cx)
{
    program *self = frame;
    CRT_BEGIN(self, cx);
    {
        const int argc = self->argc;
        char **const argv = self->argv;
        long ms = 2000;
        int i = 1;
        if (argc > 2 && strcmp(argv[1], "-t") == 0) {
            char *end;
            ms = strtol(argv[2], &end, 10);
            if (*end) ms = 0;
            i = 3;
        }
        bool usage = i >= argc || ms < 1 || ms > 1000000;
        for (int k = i; k < argc; k++) usage = usage || argv[k][0] == '-';   // no option, and no name either
        if (usage) {
            fprintf(stderr, "usage: dns_lookup [-t milliseconds] NAME ...\n");
            CRT_RETURN(2);
        }
        for (; i < argc; i++) {
            lookup one = {.name = argv[i], .limit = CRT_MS(ms)};
            int e = with_port(one.host_port, sizeof one.host_port, argv[i]) ? 0 : CRT_EINVAL;
            if (e == 0) e = crt_join_set_spawn(cx, &self->lookups, lookup_run, &one);
            if (e == 0) continue;
            printf("%s: %s\n", argv[i], crt_strerror(e));
            self->failed = 1;
        }
    }
    for (;;) {
        CRT_AWAIT(self->r = crt_join_set_next(cx, &self->lookups, &self->result));
        if (self->r == CRT_EEMPTY) break;
        if (self->r != 0 || self->result != 0) self->failed = 1;
    }
    CRT_RETURN(self->failed);
    CRT_FINALLY
        crt_join_set_drop(&self->lookups);
    CRT_END;
}

// CRT_MAIN would wait at the end for lookups that are out of time; here the log names them.
int main(int argc, char **argv)
{
    crt_runtime *rt;
    int e = crt_runtime_new(NULL, &rt);
    if (e < 0) {
        fprintf(stderr, "runtime: %s\n", crt_strerror(e));
        return 1;
    }
    program frame = {.argc = argc, .argv = argv};
    e = (int)crt_block_on(rt, program_run, &frame);
    crt_runtime_shutdown(rt, 0);
    crt_runtime_drop(&rt);
    return e < 0 ? 1 : e;
}
