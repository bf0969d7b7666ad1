#!/bin/sh
# 10,000 connections to examples/echo_server at once, on both flavours: not one byte is
# lost, and Ctrl-C with half as many connections open stops the server at once.
#   tests/load.sh [CONNECTIONS]         not part of `make test`
cd "$(dirname "$0")/.." || exit 1
n=${1:-10000}
B=${B:-.build}
ulimit -n "$(ulimit -Hn)"
if [ "$(ulimit -n)" != unlimited ] && [ "$(ulimit -n)" -lt $((n + 100)) ]; then
    n=$(($(ulimit -n) - 100))
    echo "ulimit -n is $(ulimit -n): $n connections"
fi
MAKEFLAGS= make -s "$B/echo_server" B="$B" || exit 1
${CC:-cc} -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra tests/echo_load.c -o "$B/echo_load" || exit 1
log=$(mktemp) || exit 1
passed=0; failed=0
pass() { echo "ok: $1"; passed=$((passed + 1)); }
fail() { echo "FAILED: $1"; failed=$((failed + 1)); sed 's/^/    /' "$log" | tail -n 20; }

# Port 0 is any free one; the server prints it.
start() {
    : >"$log"   # the last one's port is in there
    "$B/echo_server" "$@" >"$log" 2>&1 &
    server=$!
    port=
    for i in 1 2 3 4 5 6 7 8 9 10; do
        port=$(sed -n 's/^echo on .*:\([0-9]*\),.*/\1/p' "$log")
        [ -n "$port" ] && return 0
        sleep 0.2
    done
    return 1
}
# Interrupts the server: it has to end within a second, with exit status 0.
stop() {
    begun=$(date +%s%N)
    kill -INT $server
    for i in $(seq 200); do kill -0 $server 2>/dev/null || break; sleep 0.01; done
    ms=$((($(date +%s%N) - begun) / 1000000))
    kill -9 $server 2>/dev/null
    wait $server; code=$?
    if [ $code -eq 0 ] && [ $ms -lt 1000 ]; then pass "$1: Ctrl-C ends it after $ms ms"
    else fail "$1: Ctrl-C: exit status $code after $ms ms"; fi
}
for kind in current_thread multi_thread "multi_thread 4"; do
    set -- $kind
    start "$1" 0 ${2:-} || { fail "$kind: does not start"; continue; }
    if timeout 120 "$B/echo_load" "$port" "$n"; then pass "$kind: $n connections"
    else fail "$kind: $n connections"; fi
    # Under load.
    timeout 60 "$B/echo_load" "$port" $((n / 2)) 100000 500 >/dev/null 2>&1 &
    load=$!
    sleep 2
    stop "$kind"
    kill $load 2>/dev/null; wait $load 2>/dev/null
    if grep -q 'did not end' "$log"; then fail "$kind: tasks were left"; fi
done
rm -f "$log"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
