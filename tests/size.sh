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
hello=$here/bench/hello.c   # on the runtime that FLAVOR names

text() { size "$1" | awk 'NR == 2 { print $1 }'; }
compile() { $CC -std=c11 -D_GNU_SOURCE -I"$here" "$@"; }
seconds() { # of the fastest of three compilations
    for _ in 1 2 3; do
        bash -c 'TIMEFORMAT=%U; time "$@" >/dev/null 2>&1' - $CC -std=c11 -I"$here" "$@" 2>&1
    done | sort -n | head -1
}
broken() { echo "does not compile: $*"; failed=1; }
row() { # what it is, flags...
    what=$1; shift
    if compile -Os "$@" -o "$dir/o.o"; then printf '%-60s %8s\n' "$what" "$(text "$dir/o.o")"; else broken "$what"; fi
}

echo "compiler: $($CC --version | head -1)"
printf '%-44s %8s %8s\n' "compiled" "seconds" "text"
for o in -O0 -O1 -Os -O2; do
    compile $o -c "$dir/impl.c" -o "$dir/o.o" || { broken "the implementation $o"; continue; }
    printf '%-44s %8s %8s\n' "implementation $o" "$(seconds $o -c "$dir/impl.c" -o "$dir/o.o")" "$(text "$dir/o.o")"
done
compile -O2 -c "$dir/decl.c" -o "$dir/d.o" || broken "the declarations"
printf '%-44s %8s\n' "declarations -O2" "$(seconds -O2 -c "$dir/decl.c" -o "$dir/d.o")"

printf '\n%-60s %8s\n' "hello server, -Os (text of the object)" "text"
gc="-ffunction-sections -fdata-sections -Wl,--gc-sections"
out="-DCRT_NO_FS -DCRT_NO_PROCESS"
for f in CRT_MULTI_THREAD CRT_CURRENT_THREAD; do
    row "$f" -DFLAVOR=$f -c "$hello"
    row "$f $out" -DFLAVOR=$f $out -c "$hello"
    row "$f -DCRT_STATIC" -DFLAVOR=$f -DCRT_STATIC -c "$hello"
    row "$f -DCRT_STATIC $out" -DFLAVOR=$f -DCRT_STATIC $out -c "$hello"
    row "  the same without unwind tables" -DFLAVOR=$f -DCRT_STATIC $out -fno-asynchronous-unwind-tables -c "$hello"
    row "$f, the program, --gc-sections" -DFLAVOR=$f $gc "$hello" -pthread
done

# A public function among the cold ones would make gcc take its callers for cold.
if [ $failed = 0 ] && compile -O2 -c "$dir/impl.c" -o "$dir/o.o" && $CC --version | grep -qi 'gcc\|free software'; then
    cold=$(objdump -t "$dir/o.o" | awk '/ g .* F .*\.text\.unlikely/ && $NF !~ /^crt__/ { print $NF }')
    if [ -n "$cold" ]; then
        echo "public functions that gcc takes for cold: $cold"
        failed=1
    fi
fi
[ $failed = 0 ] && echo "size: ok"
exit $failed
