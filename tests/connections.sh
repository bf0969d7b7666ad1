#!/bin/sh
# Very many connections at once, held for a while, each echoing; none may be lost.
#   tests/connections.sh            19,000 in one process, held for 30 s
#   tests/connections.sh 100000     over several processes that share the port (reuseport)
#   SECONDS_HELD=5 tests/connections.sh 40000
# Raises ulimit -n to the hard limit, and says so. Not part of `make test`. Prints the
# resident memory that each connection costs the servers (user space; the kernel's share of
# a socket is not counted) and ends with "N passed, N failed" (connections).
cd "$(dirname "$0")/.." || exit 1
total=${1:-19000}
held=${SECONDS_HELD:-30}
B=${B:-.build}
ulimit -n "$(ulimit -Hn)"
limit=$(ulimit -n)
[ "$limit" = unlimited ] && limit=1000000
echo "ulimit -n raised to $limit, the hard limit"
most=$((limit - 1000))                    # of each process; the kernel shares them out unevenly
[ "$total" -gt "$most" ] && most=$((limit - 2500))
processes=$(((total + most - 1) / most))
each=$(((total + processes - 1) / processes))
port=${PORT:-19321}
mkdir -p "$B"
${CC:-cc} -std=c11 -D_GNU_SOURCE -O2 -I. tests/connections.c -o "$B/connections" -pthread || exit 1

dir=$(mktemp -d) || exit 1
servers=; clients=
finish() { for p in $clients $servers; do kill "$p" 2>/dev/null; done; rm -rf "$dir"; }
trap finish EXIT
resident() { awk '/^VmRSS/ { print $2 * 1024 }' "/proc/$1/status"; }

for i in $(seq "$processes"); do
    "$B/connections" serve "$port" >"$dir/server$i" 2>&1 &
    servers="$servers $!"
done
for i in $(seq "$processes"); do
    for t in $(seq 50); do grep -q ready "$dir/server$i" && break; sleep 0.1; done
    grep -q ready "$dir/server$i" || { cat "$dir/server$i"; echo "0 passed, 1 failed"; exit 1; }
done
before=0; for p in $servers; do before=$((before + $(resident "$p"))); done
for i in $(seq "$processes"); do
    "$B/connections" hold "$port" "$each" "$held" "$i" >"$dir/client$i" 2>&1 &
    clients="$clients $!"
done
i=0
for p in $clients; do
    i=$((i + 1))
    for t in $(seq 1200); do
        grep -q '^open' "$dir/client$i" || ! kill -0 "$p" 2>/dev/null && break
        sleep 0.1
    done
done
after=0; for p in $servers; do after=$((after + $(resident "$p"))); done
open=$(awk '/^open/ { n += $2 } END { print n + 0 }' "$dir"/client*)
echo "$open connections open in $processes server process(es); $(((after - before) / (open > 0 ? open : 1))) resident bytes each"
i=0; bad=0   # clients and servers that did not end well
for p in $clients; do
    i=$((i + 1))
    wait "$p"; code=$?
    # Status 1 and a sum: some of its connections were lost, and are counted there.
    [ $code -le 1 ] && grep -q passed "$dir/client$i" && continue
    echo "client $i did not end well (status $code)"
    bad=$((bad + 1))
done
clients=
cat "$dir"/client* | grep -v -e '^open' -e passed
for p in $servers; do kill -INT "$p"; done
for p in $servers; do wait "$p" || { echo "a server did not end well"; bad=$((bad + 1)); }; done
servers=
awk -v bad=$bad -v wanted=$((each * processes)) '/passed/ { p += $1; f += $3 }
    END {
        f += bad
        if (f < wanted - p) f = wanted - p
        print p + 0 " passed, " f " failed"
        exit f > 0
    }' "$dir"/client*
