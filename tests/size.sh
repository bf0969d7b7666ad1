#!/bin/sh
# Bytes and seconds of the implementation, and what must not be among the cold functions.
#     CC=gcc sh tests/size.sh          (the table goes to stdout; status 1: a check failed)
# Seconds are user time, the least of three; on a busy machine they say little.
set -u
CC=${CC:-gcc}
here=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0

printf '#define CRT_IMPLEMENTATION\n#include "crt.h"\n' >"$dir/impl.c"
printf '#include "crt.h"\n' >"$dir/decl.c"
# An echo server on the runtime that FLAVOR names, in one file with the implementation.
cat >"$dir/hello.c" <<'EOF'
#define CRT_IMPLEMENTATION
#include "crt.h"
typedef struct echo {
    crt_frame co;
    crt_stream *peer;
    crt_poll n;
    char buf[1024];
} echo;
static crt_poll echo_run(void *frame, crt_cx *cx)
{
    echo *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->n = crt_read(cx, self->peer, self->buf, sizeof self->buf));
        if (self->n <= 0) CRT_RETURN(self->n);
        CRT_AWAIT(self->n = crt_write_all(cx, self->peer, self->buf, (size_t)self->n));
        if (self->n < 0) CRT_RETURN(self->n);
    }
    CRT_FINALLY
        crt_close(&self->peer);
    CRT_END;
}
typedef struct server {
    crt_frame co;
    crt_listener *listener;
    crt_stream *peer;
    crt_poll r;
} server;
static crt_poll server_run(void *frame, crt_cx *cx)
{
    server *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->r = crt_tcp_listen(cx, "127.0.0.1:7000", NULL, &self->listener));
    if (self->r < 0) CRT_RETURN(self->r);
    for (;;) {
        CRT_AWAIT(self->r = crt_accept(cx, self->listener, &self->peer, NULL));
        if (self->r < 0) CRT_RETURN(self->r);
        if (crt_spawn(cx, echo_run, &(echo){.peer = self->peer}) < 0) crt_close(&self->peer);
    }
    CRT_FINALLY
        crt_close(&self->listener);
    CRT_END;
}
int main(void)
{
    static server s;
    crt_runtime *rt;
    crt_config c = {.flavor = FLAVOR};
    if (crt_runtime_new(&c, &rt) < 0) return 1;
    crt_block_on(rt, server_run, &s);
    crt_runtime_drop(&rt);
    return 0;
}
EOF

text() { size "$1" | awk 'NR == 2 { print $1 }'; }
compile() { $CC -std=c11 -D_GNU_SOURCE -I"$here" "$@"; }
seconds() { # of the fastest of three compilations
    for _ in 1 2 3; do
        bash -c 'TIMEFORMAT=%U; time "$@" >/dev/null 2>&1' - $CC -std=c11 -I"$here" "$@" 2>&1
    done | sort -n | head -1
}

echo "compiler: $($CC --version | head -1)"
printf '%-44s %8s %8s\n' "compiled" "seconds" "text"
for o in -O0 -O1 -Os -O2; do
    s=$(seconds $o -c "$dir/impl.c" -o "$dir/o.o")
    printf '%-44s %8s %8s\n' "implementation $o" "$s" "$(text "$dir/o.o")"
done
printf '%-44s %8s\n' "declarations -O2" "$(seconds -O2 -c "$dir/decl.c" -o "$dir/d.o")"

printf '\n%-60s %8s\n' "hello server, -Os (text of the object)" "text"
gc="-ffunction-sections -fdata-sections -Wl,--gc-sections"
out="-DCRT_NO_FS -DCRT_NO_PROCESS"
for f in CRT_MULTI_THREAD CRT_CURRENT_THREAD; do
    compile -Os -DFLAVOR=$f -c "$dir/hello.c" -o "$dir/o.o" && printf '%-60s %8s\n' "$f" "$(text "$dir/o.o")"
    compile -Os -DFLAVOR=$f $out -c "$dir/hello.c" -o "$dir/o.o" &&
        printf '%-60s %8s\n' "$f $out" "$(text "$dir/o.o")"
    compile -Os -DFLAVOR=$f -DCRT_STATIC -c "$dir/hello.c" -o "$dir/o.o" &&
        printf '%-60s %8s\n' "$f -DCRT_STATIC" "$(text "$dir/o.o")"
    compile -Os -DFLAVOR=$f -DCRT_STATIC $out -c "$dir/hello.c" -o "$dir/o.o" &&
        printf '%-60s %8s\n' "$f -DCRT_STATIC $out" "$(text "$dir/o.o")"
    compile -Os -DFLAVOR=$f -DCRT_STATIC $out -fno-asynchronous-unwind-tables -c "$dir/hello.c" -o "$dir/o.o" &&
        printf '%-60s %8s\n' "  the same without unwind tables" "$(text "$dir/o.o")"
    compile -Os -DFLAVOR=$f $gc "$dir/hello.c" -o "$dir/o.out" -pthread &&
        printf '%-60s %8s\n' "$f, the program, --gc-sections" "$(text "$dir/o.out")"
done

# A public function among the cold ones would make gcc take its callers for cold.
if compile -O2 -c "$dir/impl.c" -o "$dir/o.o" && $CC --version | grep -qi 'gcc\|free software'; then
    cold=$(objdump -t "$dir/o.o" | awk '/ g .* F .*\.text\.unlikely/ { print $NF }')
    if [ -n "$cold" ]; then
        echo "public functions that gcc takes for cold: $cold"
        failed=1
    fi
fi
[ $failed = 0 ] && echo "size: ok"
exit $failed
