#!/bin/sh
# Runs test programs: run.sh DIRECTORY NAME... First the models, which do nothing but compute, as many at once as there
# are processors; then the tests, one after the other.
# Each ends with "N passed, N failed"; the last line is their sum.
dir=$1; shift
passed=0; failed=0; begun=$(date +%s)
logs=$(mktemp -d) || exit 1
beside=; lanes=
trap 'for job in $beside $lanes; do kill "$job" 2>/dev/null; done; rm -rf "$logs"' EXIT
trap 'exit 1' HUP INT TERM
# Into a file: a pipe would be waited for until the last child that a test leaves behind has closed it.
run() {
    at=$(date +%s)
    timeout "${TEST_TIMEOUT:-120}" "$dir/$1" >"$logs/$1" 2>&1 </dev/null
    echo "$? $(($(date +%s) - at))" >"$logs/$1.end"
}
# Those that wait for nine tenths of their time run beside the others, from the beginning.
for name in "$@"; do
    case $name in test_syscalls) run $name & beside="$beside $!" ;; esac
done
cores=$(nproc 2>/dev/null || echo 2)
lane() { # number: each cores-th of the models
    turn=0
    for name in $models; do
        [ $((turn % cores)) -ne "$1" ] || run "$name"
        turn=$((turn + 1))
    done
}
models=; n=0
for name in "$@"; do
    case $name in model_*) models="$models $name" ;; esac
done
while [ $n -lt "$cores" ]; do
    lane $n & lanes="$lanes $!"
    n=$((n + 1))
done
wait $lanes
lanes=
for name in "$@"; do
    case $name in model_*) ;; test_syscalls) while [ ! -s "$logs/$name.end" ]; do sleep 0.1; done ;; *) run "$name" ;; esac
    out=$logs/$name
    read -r code took <"$out.end"
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$out" | tail -n 1)
    p=${line%% passed*}; f=${line#*, }; f=${f%% failed*}
    if [ -z "$line" ]; then p=0; f=1; fi
    if [ "$code" -ne 0 ] && [ "$f" = 0 ]; then f=1; fi
    total=$(sed -n 's/^\([0-9][0-9]* schedules of .*\)$/   \1/p' "$out" | tail -n 1)
    printf '%-24s %5s passed %3s failed  %3ds%s\n' "$name" "$p" "$f" "$took" "${DETAILS:+$total}"
    if [ "$f" != 0 ]; then
        tail -n 40 "$out"
        echo "  (exit status $code; run it again: $dir/$name)"
    fi
    rm -f "$out" "$out.end"
    passed=$((passed + p)); failed=$((failed + f))
done
echo "took $(($(date +%s) - begun)) s"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
