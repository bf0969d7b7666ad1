#!/bin/sh
# wrk on examples/http_server: no error in ten seconds with 200 connections; then Ctrl-C
# under that load ends it within a second, with exit status 0; built with ASan and UBSan
# it leaves no leak either.
#   tests/http_load.sh [SECONDS]        not part of `make test`
cd "$(dirname "$0")/.." || exit 1
secs=${1:-10}
B=${B:-.build}
for tool in wrk curl; do
    command -v $tool >/dev/null || { echo "skipped: $tool is missing"; echo "0 passed, 0 failed"; exit 0; }
done
MAKEFLAGS= make -s "$B/http_server" B="$B" || exit 1
MAKEFLAGS= make -s "$B/asan/http_server" B="$B/asan" \
    CFLAGS="-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer" || exit 1
log=$(mktemp) || exit 1
out=$(mktemp) || exit 1
passed=0; failed=0
pass() { echo "ok: $1"; passed=$((passed + 1)); }
fail() { echo "FAILED: $1"; failed=$((failed + 1)); sed 's/^/    /' "$log" "$out" | tail -n 30; }

start() {   # start PROGRAM FLAVOR: a free port, found by trying
    for try in 1 2 3 4 5; do
        port=$((20000 + ($$ * 7 + try * 131 + passed * 17) % 10000))
        "$1" $port 0 "$2" >"$log" 2>&1 &
        server=$!
        for i in 1 2 3 4 5 6 7 8 9 10; do
            kill -0 $server 2>/dev/null || break
            curl -s -o /dev/null --max-time 2 "http://127.0.0.1:$port/" && return 0
            sleep 0.2
        done
        kill -9 $server 2>/dev/null; wait $server 2>/dev/null
    done
    return 1
}
stop() {   # stop NAME MOST_MS
    begun=$(date +%s%N)
    kill -INT $server
    for i in $(seq 500); do kill -0 $server 2>/dev/null || break; sleep 0.01; done
    ms=$((($(date +%s%N) - begun) / 1000000))
    kill -9 $server 2>/dev/null
    wait $server; code=$?
    if [ $code -eq 0 ] && [ $ms -lt "$2" ]; then pass "$1: Ctrl-C under load ends it after $ms ms"
    else fail "$1: Ctrl-C: exit status $code after $ms ms"; fi
    # Leaks, use after free, undefined behaviour, tasks that were left: all of them print.
    if grep -Eq 'Sanitizer|runtime error|did not end' "$log"; then fail "$1: it complains"
    else pass "$1: nothing leaked, nothing left"; fi
}
for flavor in multi_thread current_thread; do
    start "$B/http_server" $flavor || { fail "$flavor: does not start"; continue; }
    wrk -t1 -c200 -d"${secs}s" "http://127.0.0.1:$port/" >"$out" 2>&1
    if grep -q 'Requests/sec' "$out" && ! grep -Eq 'Socket errors|Non-2xx' "$out"; then
        pass "$flavor: 200 connections, $(sed -n 's/^Requests\/sec: *//p' "$out") requests/s, no error"
    else
        fail "$flavor: wrk saw errors"
    fi
    for path in / /stats "/sleep?ms=5" /blocking; do
        code=$(curl -s -o /dev/null -w '%{http_code}' --max-time 5 "http://127.0.0.1:$port$path")
        if [ "$code" = 200 ]; then pass "$flavor: $path still answers"; else fail "$flavor: $path: $code"; fi
    done
    wrk -t1 -c200 -d20s "http://127.0.0.1:$port/" >/dev/null 2>&1 &
    load=$!
    sleep 2
    stop $flavor 1000
    kill $load 2>/dev/null; wait $load 2>/dev/null

    start "$B/asan/http_server" $flavor || { fail "$flavor, ASan: does not start"; continue; }
    wrk -t1 -c100 -d20s "http://127.0.0.1:$port/" >/dev/null 2>&1 & load=$!
    wrk -t1 -c50 -d20s "http://127.0.0.1:$port/sleep?ms=20" >/dev/null 2>&1 & load2=$!
    wrk -t1 -c20 -d20s "http://127.0.0.1:$port/blocking" >/dev/null 2>&1 & load3=$!
    sleep 3
    stop "$flavor, ASan" 3000   # the leak check takes its time
    for l in $load $load2 $load3; do kill $l 2>/dev/null; wait $l 2>/dev/null; done
done
rm -f "$log" "$out"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
