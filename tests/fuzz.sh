#!/bin/sh
# Fuzzes a part of crt, or an example, with libFuzzer under ASan and UBSan.
#   tests/fuzz.sh TARGET|all [SECONDS]     60 for each target
# Targets: tests/fuzz_NAME.c. Begins with tests/corpus/NAME, which `make test` runs too, and
# afterwards brings what was learned back into it, minimised, at most 300 inputs of 1 KiB.
# KEEP=no leaves the corpus alone, SEED=1 begins as it did before. A crash is left in .build/fuzz/ and its command printed.
cd "$(dirname "$0")/.." || exit 1
all="wheel channels combine streams addr http redis"
targets=${1:-all}; secs=${2:-60}
[ "$targets" = all ] && targets=$all
B=${B:-.build}/fuzz
mkdir -p "$B" || exit 1
passed=0; failed=0
echo 'int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { (void)d, (void)n; return 0; }' >"$B/probe.c"
if ! clang -fsanitize=fuzzer "$B/probe.c" -o "$B/probe" 2>/dev/null; then
    echo "skipped: libFuzzer is missing (apt-get install clang libclang-rt-14-dev)"
    echo "0 passed, 0 failed"
    exit 0
fi
# Built by as many at once as there are processors, and run so.
cores=$(nproc 2>/dev/null || echo 2)
lanes() { # function: called with each target
    begun=0
    for t in $targets; do
        "$1" "$t" &
        begun=$((begun + 1))
        [ $((begun % cores)) -ne 0 ] || wait
    done
    wait
}
build() {
    rm -f "$B/fuzz_$1"
    clang -std=c11 -D_GNU_SOURCE -DLIBFUZZER -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I. -Itests \
        "tests/fuzz_$1.c" -o "$B/fuzz_$1" -pthread
}
fuzz() {
    length=512
    case $1 in http|redis) length=4096;; addr) length=160;; esac
    mkdir -p "tests/corpus/$1" "$B/corpus_$1"
    [ -x "$B/fuzz_$1" ] || return
    timeout $((secs + 120)) "$B/fuzz_$1" -max_total_time="$secs" ${SEED:+-seed=$SEED} -max_len=$length -timeout=20 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$B/$1-" "$B/corpus_$1" "tests/corpus/$1" >"$B/$1.log" 2>&1
    echo $? >"$B/$1.end"
}
for t in $targets; do rm -f "$B/$t.end"; done
lanes build
lanes fuzz
for t in $targets; do
    corpus=tests/corpus/$t; work=$B/corpus_$t
    [ -x "$B/fuzz_$t" ] || { echo "FAILED $t: does not compile"; failed=$((failed + 1)); continue; }
    code=$(cat "$B/$t.end" 2>/dev/null)
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$B/$t.log")
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$B/$t.log")
    cover=$(grep -o 'cov: [0-9]* ft: [0-9]*' "$B/$t.log" | tail -n 1)
    if [ "$code" != 0 ]; then
        failed=$((failed + 1))
        grep -vE '^#[0-9]+.(NEW|REDUCE|pulse)|NEW_FUNC' "$B/$t.log" | tail -n 30
        crash=$(sed -n 's/.*Test unit written to //p' "$B/$t.log" | tail -n 1)
        echo "FAILED $t after ${runs:-?} executions; again: $B/fuzz_$t $crash"
        continue
    fi
    passed=$((passed + 1))
    echo "$t: $runs executions in $secs s ($rate a second), $cover"
    [ "$KEEP" = no ] && continue
    rm -rf "$B/merged"; mkdir -p "$B/merged"
    timeout 300 "$B/fuzz_$t" -merge=1 "$B/merged" "$corpus" "$work" >"$B/$t.merge.log" 2>&1 || continue
    # Small ones first: they are the first that a merge looks at, and most of the coverage.
    for f in $(find "$B/merged" -type f -size -3 -printf '%s %p\n' | sort -n | head -n 300 | cut -d' ' -f2-); do
        cp "$f" "$corpus/"
    done
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
