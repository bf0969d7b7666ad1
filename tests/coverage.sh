#!/bin/sh
# Lines and branches of crt.h and crt_platform_epoll.h that the suite runs: coverage.sh [list] [NAME...]
#
# Every test_*.c and model_*.c is built with clang's coverage and run; coverage.py adds them up by
# place in the source and fails below 95 % of the lines or 85 % of the branches, or where something
# never happened and coverage.exempt has no reason for it. NAME: only these programs are run again,
# what the others did is remembered. list: prints what is exempt, too.
cd "$(dirname "$0")/.." || exit 1
for tool in clang llvm-profdata llvm-cov python3; do
    command -v $tool >/dev/null || { echo "coverage: $tool is missing (apt-get install clang llvm python3)"; exit 0; }
done
B=${B:-.build}/coverage
mkdir -p "$B" || exit 1
B=$(cd "$B" && pwd)
list=
[ "$1" = list ] && { list=list; shift; }
# The explorer's own test has no code of crt.h in it.
names=${*:-$(ls tests/test_*.c tests/model_*.c | sed 's,.*/,,; s,\.c$,,' | grep -v '^test_explore$')}
# Counters live in a mapped file, so that a child which ends by _exit or a signal is counted as well.
flags="-std=c11 -g -D_GNU_SOURCE -w -DMODEL_SECONDS=3.0 -fprofile-instr-generate -fcoverage-mapping"
# Threads count at once: what one loses would be missing where a branch is found by subtraction.
flags="$flags -fprofile-update=atomic -mllvm -runtime-counter-relocation -I. -Itests"
# The models explore more at -O1; the rest is built sooner at -O0.
build() { xargs -P "${JOBS:-2}" -I{} clang $flags "$1" tests/{}.c -o "$B/{}" -pthread; }
printf '%s\n' $names | grep -v '^model_' | build -O0 || exit 1
printf '%s\n' $names | grep '^model_' | build -O1 || exit 1
# Whether tests pass is for make test to say: here models have little time, and children one descriptor more, that of the
# counters. What a program that failed did not come to is in the list.
for name in $names; do
    rm -f "$B/$name".*.raw
    LLVM_PROFILE_FILE="$B/$name.%p%c.raw" SEEDS=${SEEDS:-300} timeout 180 "$B/$name" >"$B/$name.out" 2>&1 </dev/null ||
        echo "$name failed; its output is in $B/$name.out"
    llvm-profdata merge -sparse -o "$B/$name.prof" "$B/$name".*.raw &&
        llvm-cov export -format=text -instr-profile="$B/$name.prof" "$B/$name" >"$B/$name.json" 2>/dev/null
    rm -f "$B/$name".*.raw
done
exec python3 tests/coverage.py "$B" $list
