#!/bin/sh
# Runs test programs one after the other: run.sh DIRECTORY NAME...
# Each ends with "N passed, N failed"; the last line is their sum.
dir=$1; shift
passed=0; failed=0; begun=$(date +%s)
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
trap 'exit 1' HUP INT TERM
for name in "$@"; do
    t0=$(date +%s)
    # Into a file: a pipe would be waited for until the last child that a test leaves behind has closed it.
    timeout "${TEST_TIMEOUT:-120}" "$dir/$name" >"$out" 2>&1 </dev/null; code=$?
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$out" | tail -n 1)
    p=${line%% passed*}; f=${line#*, }; f=${f%% failed*}
    if [ -z "$line" ]; then p=0; f=1; fi
    if [ $code -ne 0 ] && [ "$f" = 0 ]; then f=1; fi
    total=$(sed -n 's/^\([0-9][0-9]* schedules of .*\)$/   \1/p' "$out" | tail -n 1)
    printf '%-24s %5s passed %3s failed  %3ds%s\n' "$name" "$p" "$f" $(($(date +%s) - t0)) "${DETAILS:+$total}"
    if [ "$f" != 0 ]; then
        tail -n 40 "$out"
        echo "  (exit status $code; run it again: $dir/$name)"
    fi
    passed=$((passed + p)); failed=$((failed + f))
done
echo "took $(($(date +%s) - begun)) s"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
