#!/bin/sh
# The tests on a machine that stands still now and then: stall.sh DIRECTORY NAME... (see stall.c)
#   SEED=1 ROUNDS=1    the seeds tried for each program: SEED, SEED+1, ...
# A stall can come at any instruction, so a seed repeats the kind of run, not the run.
[ "$(uname)" = Linux ] || { echo "stall: it needs Linux's PTRACE_SEIZE"; exit 0; }
dir=$1; shift
seed=${SEED:-1}; last=$((seed + ${ROUNDS:-1} - 1))
cc=${CC:-cc}
$cc -O2 -Wall -Wextra "$(dirname "$0")/stall.c" -o "$dir/stall" || exit 1
# A stop ends a system call that sleeps, which is a wake-up to crt: this one counts those.
skip=" an_idle_runtime_sleeps "
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
trap 'exit 1' HUP INT TERM
passed=0; failed=0
while [ "$seed" -le "$last" ]; do
    for name in "$@"; do
        TEST_SKIP=$skip TEST_SLOW=1 timeout 900 "$dir/stall" "$seed" "$dir/$name" >"$log" 2>&1 </dev/null
        code=$?
        line=$(grep -aE '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1)
        p=${line%% passed*}; f=${line#*, }; f=${f%% failed*}
        if [ -z "$line" ]; then p=0; f=1; fi
        if [ "$code" -ne 0 ] && [ "$f" = 0 ]; then f=1; fi
        if [ "$f" != 0 ]; then
            tail -n 30 "$log"
            echo "  (exit status $code; run it again: $dir/stall $seed $dir/$name)"
        fi
        printf '%-24s %5s passed %3s failed   %s\n' "$name" "$p" "$f" "$(tail -n 1 "$log" | sed 's/^stall: //')"
        passed=$((passed + p)); failed=$((failed + f))
    done
    seed=$((seed + 1))
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
