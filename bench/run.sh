#!/bin/sh
# Runs crt beside its peers on this machine and prints who needs how long.
#
#   bench/run.sh              every workload on every kind of runtime (about half an hour)
#   bench/run.sh quick        the ones that matter most, under two minutes
#   bench/run.sh sync         channels and locks, and what an empty channel keeps (six minutes)
#   bench/run.sh NAME...      all cases of these workloads, e.g. bench/run.sh mutex echo
#
# Environment: ROUNDS, SECS (seconds for each run), CC, CFLAGS, OUT (the report), BUILD (a directory),
# NOISE=1 (a second column of crt itself: its ratios are what this machine makes out of nothing).
#
# The last column holds crt against the peer that is best at that workload, and names it.
#
# The programs take turns, in an order that rotates from round to round, and each ratio is taken within
# a round: what the machine does to one of them it then does to its neighbour as well.
# shellcheck disable=SC2086  # lists of words are kept in plain variables and split on purpose
set -u

here=$(cd "$(dirname "$0")" && pwd)
BUILD=${BUILD:-$here/build}
mkdir -p "$BUILD" && BUILD=$(cd "$BUILD" && pwd) || exit 1
OUT=${OUT:-$BUILD/report.txt}
CC=${CC:-cc}
CFLAGS=${CFLAGS:--std=c11 -D_GNU_SOURCE -O2 -DNDEBUG}
PATH=$PATH:/sbin:/usr/sbin   # ldconfig

mode=${1:-full}
case $mode in
quick) ROUNDS=${ROUNDS:-4} SECS=${SECS:-0.05} echo_secs=0.4 settings="warm=1 miniter=2" ;;
*)     ROUNDS=${ROUNDS:-5} SECS=${SECS:-0.4} echo_secs=2 settings= ;;
esac

note() { echo "run.sh: $*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# ---------------------------------------------------------------------------------------------- build

log=$BUILD/build.log
: >"$log"

compile() { # name, source
    $CC $CFLAGS -o "$BUILD/$1" "$here/$2" -pthread >>"$log" 2>&1
}

peers=
if compile bench_core bench_core.c; then peers="crt${NOISE:+ crt-again}"
else note "crt: bench_core.c does not build, see $log; measuring the peers alone"; fi

if ! have cargo; then
    note "tokio: skipped; apt-get install cargo librust-tokio-dev librust-libc-dev"
elif mkdir -p "$BUILD/tokio" && cp -Rp "$here/tokio/." "$BUILD/tokio" && # so that Cargo.lock is not written here
    (cd "$BUILD/tokio" && CARGO_TARGET_DIR=$BUILD/cargo cargo build --release --offline) >>"$log" 2>&1; then
    peers="$peers tokio"
    tokio_version=$(awk '/^name = "tokio"$/ { getline; print $3 }' "$BUILD/tokio/Cargo.lock" | tr -d '"')
    jemalloc=$(ldconfig -p 2>/dev/null | awk '/libjemalloc\.so/ { print $NF; exit }')
    if [ -n "$jemalloc" ]; then peers="$peers tokio+jemalloc"
    else note "tokio+jemalloc: skipped; apt-get install libjemalloc2"; fi
else
    note "tokio: does not build, see $log; apt-get install cargo librust-tokio-dev librust-libc-dev"
fi

if ! have go; then
    note "go: skipped; apt-get install golang-go"
elif (cd "$here/go" && GO111MODULE=on GOFLAGS=-mod=mod GOPROXY=off CGO_ENABLED=0 GOCACHE=$BUILD/gocache \
    go build -o "$BUILD/go-bench" .) >>"$log" 2>&1; then
    peers="$peers go"
else
    note "go: does not build, see $log"
fi

counter=
if $CC -O2 -shared -fPIC -o "$BUILD/alloc_count.so" "$here/alloc_count.c" >>"$log" 2>&1; then
    counter=$BUILD/alloc_count.so
else
    note "chan_bytes: skipped, alloc_count.c does not build, see $log"
fi

echo_peers=
if compile loadgen loadgen.c && compile epoll_echo epoll_echo.c; then
    for peer in $peers; do [ "$peer" = go ] || echo_peers="$echo_peers $peer"; done   # no echo server in Go
    echo_peers="$echo_peers epoll"
else
    note "echo: skipped, loadgen.c or epoll_echo.c does not build, see $log"
fi
[ -n "$peers$echo_peers" ] || exit 1

# Becomes the program of that column; $within is "timeout N" or nothing, $preload a library or nothing. exec, so
# that $! is the program.
run() { # peer, arguments...
    peer=$1
    shift
    case $peer in
    crt*)           set -- env LD_PRELOAD="$preload" "$BUILD/bench_core" "$@" ;;
    tokio)          set -- env LD_PRELOAD="$preload" "$BUILD/cargo/release/tokio-bench" "$@" ;;
    tokio+jemalloc) set -- env LD_PRELOAD="$preload $jemalloc" "$BUILD/cargo/release/tokio-bench" "$@" ;;
    go)             set -- "$BUILD/go-bench" "$@" ;;
    epoll)          set -- "$BUILD/epoll_echo" echo ;;
    esac
    exec $within "$@"
}

# ---------------------------------------------------------------------------------------------- cases

# workload rt arguments; in front the modes beside full that it is part of: "q" quick, "s" sync
cases() {
    cat <<'END'
q spawn_many_local mt2
q spawn_many_local ct
- spawn_many_local mt1
q spawn_join_local mt2
q spawn_join_local ct
- spawn_join_local mt1
q spawn_many_remote_idle mt2
- spawn_many_remote_idle mt1
- spawn_many_remote_idle ct
q chained_spawn mt2
- chained_spawn mt1
- chained_spawn ct
q yield_many mt2
- yield_many mt1
q yield_many ct
q yield_one mt2
- yield_one mt1
q yield_one ct
q ping_pong mt2
- ping_pong mt1
- ping_pong ct
q fib mt2
- fib mt1
- fib ct
- skynet mt2
- skynet mt1
- skynet ct
q timer_cancel mt2 miniter=1
- timer_cancel mt1
q timer_cancel ct
- timer_cancel mt2 live=100000
- timer_cancel ct live=100000
q timer_cancel mt2 tick=10
- timer_cancel ct tick=10
- timer_cancel mt2 live=100000 tick=10
- timer_cancel ct live=100000 tick=10
q timeout_ready mt2
- timeout_ready mt1
- timeout_ready ct
q sleep_fixed mt2
- sleep_fixed mt1
q sleep_fixed ct
- sleep_rand mt2 miniter=1 warm=1
- sleep_rand mt1 miniter=1 warm=1
- sleep_rand ct miniter=1 warm=1
- sleep_rand mt2 n=10000 miniter=1 warm=0 late=1
- sleep_rand ct n=10000 miniter=1 warm=0 late=1
q spawn_blocking mt2
- spawn_blocking mt1
- spawn_blocking ct
- spawn_blocking mt2 cap=4
q spawn_blocking_seq mt2 miniter=1
- spawn_blocking_seq mt1
- spawn_blocking_seq ct
qs oneshot mt2
- oneshot mt1
s oneshot ct
q request_reply mt2
- request_reply mt1
- request_reply ct
q request_reply mt2 client=main miniter=1
- request_reply ct client=main
qs mpsc mt2
- mpsc mt1
s mpsc ct
qs mpsc mt2 prod=5
- mpsc mt1 prod=5
s mpsc ct prod=5
s mpsc mt2 cap=0
s mpsc ct cap=0
s mpsc mt2 prod=5 cap=0
s mpsc ct prod=5 cap=0
s mpsc_uncontended mt2
s mpsc_uncontended ct
s mpsc_uncontended mt2 cap=0
s mpsc_uncontended ct cap=0
qs mutex_uncontended mt2
- mutex_uncontended mt1
s mutex_uncontended ct
qs mutex mt2
- mutex mt1
s mutex ct
qs mutex mt2 hold=1
s mutex ct hold=1
s semaphore_uncontended mt2
s semaphore_uncontended ct
qs semaphore mt2
s semaphore ct
s semaphore mt2 hold=1
s semaphore ct hold=1
s rwlock_read mt2 tasks=1
s rwlock_read ct tasks=1
s rwlock_read mt2
s rwlock_read ct
qs notify_pingpong mt2
- notify_pingpong mt1
s notify_pingpong ct
qs broadcast_stream mt2 miniter=3
- broadcast_stream mt1
s broadcast_stream ct
s broadcast mt2
s broadcast ct
qs watch mt2
s watch ct
qs chan_bytes ct kind=mpsc
s chan_bytes ct kind=unbounded
s chan_bytes ct kind=oneshot
s chan_bytes ct kind=broadcast
s chan_bytes ct kind=watch
q mem mt2 kind=notify n=100000
- mem mt2 kind=pending
- mem mt2 kind=notify
- mem mt2 kind=sleep
q echo mt2 conns=50 depth=1
- echo ct conns=50 depth=1
- echo mt2 conns=50 depth=16
- echo ct conns=50 depth=16
- echo mt2 conns=1000 depth=1
- echo mt2 conns=1000 idle=0.5
END
}

wanted() { # flag, workload
    case $mode in
    full)  return 0 ;;
    quick) case $1 in *q*) return 0 ;; *) return 1 ;; esac ;;
    sync)  case $1 in *s*) return 0 ;; *) return 1 ;; esac ;;
    *)     case " $names " in *" $2 "*) return 0 ;; *) return 1 ;; esac ;;
    esac
}
names=$*

# ------------------------------------------------------------------------------------------- measuring

# Lines of: table, label, peer, round, figure, CPU time. Lower is better in all of them.
raw=$BUILD/raw.tsv
: >"$raw"

measure() { # peer, round, workload, rt, arguments...
    peer=$1 round=$2 workload=$3 rt=$4
    shift 4
    preload=
    [ "$workload" != chan_bytes ] || preload=$counter
    line=$(within="timeout 60" && run "$peer" "$workload" rt="$rt" secs="$SECS" $settings "$@" 2>>"$log")
    status=$?
    [ $status -ne 3 ] || return 0   # has no counterpart of it
    if [ -z "$line" ]; then
        [ "$round" -gt 0 ] || note "$peer $workload $rt $*: no result, see $log"
        return
    fi
    echo "$line" | awk -v peer="$peer" -v round="$round" -v OFS='\t' '{
        label = $1 " " $2
        if (match($0, /created=[0-9.]+/)) { # of a channel: bytes twice, and no time
            print "core", label " (bytes, just made)", peer, round, substr($0, RSTART + 8, RLENGTH - 8), ""
            match($0, /drained=[0-9.]+/)
            print "core", label " (bytes, emptied)", peer, round, substr($0, RSTART + 8, RLENGTH - 8), ""
            next
        }
        figure = $5; cpu = $10
        if (match($0, /rss_bytes_per_task=[0-9.]+/)) { # bytes, and no time
            figure = substr($0, RSTART + 19, RLENGTH - 19); cpu = ""; label = label " (bytes)" }
        print "core", label, peer, round, figure, cpu
        if (match($0, /p99=[0-9.]+/)) # how late timers are
            print "core", $1 " " $2 " (p99 late, us)", peer, round, substr($0, RSTART + 4, RLENGTH - 4), ""
    }' >>"$raw"
}

server=
stop_server() {
    [ -n "$server" ] || return 0
    kill "$server" 2>/dev/null
    wait "$server" 2>/dev/null
    server=
}
trap stop_server EXIT
trap 'exit 130' INT TERM

measure_echo() { # peer, round, rt, arguments...
    peer=$1 round=$2 rt=$3
    shift 3
    said=$BUILD/server.out
    : >"$said"
    within='' preload=''
    run "$peer" serve_echo rt="$rt" port=0 life=120 >"$said" 2>>"$log" &
    server=$!
    tries=0
    until grep -q listening "$said"; do
        tries=$((tries + 1))
        if [ $tries -gt 50 ] || ! kill -0 "$server" 2>/dev/null; then
            stop_server
            note "$peer echo $rt: the server does not start, see $log"
            return
        fi
        sleep 0.1
    done
    port=$(sed -n 's/^listening .*://p' "$said")
    line=$(timeout 60 "$BUILD/loadgen" port="$port" pid="$server" secs="$echo_secs" warm=0.3 "$@" 2>>"$log")
    stop_server
    [ -n "$line" ] || return
    echo "$line" | awk -v peer="$peer" -v round="$round" -v rt="$rt" -v OFS='\t' '{
        for (i = 3; i <= NF; i++) if (split($i, kv, "=") == 2) v[kv[1]] = kv[2]
        label = "echo " rt "," $2
        if ($1 == "idle") { print "echo", label " (bytes per idle connection)", peer, round, v["bytes_per_conn"], "" }
        else {
            print "echo", label " (ns between requests)", peer, round, 1e9 / v["rps"], v["srv_cpu_us"] * 1000
            print "echo", label " (server user ns)", peer, round, v["srv_user_us"] * 1000, ""
            print "echo", label " (p99 us)", peer, round, v["p99_us"], ""
        }
    }' >>"$raw"
}

rotate() { # by how many, words...
    by=$1
    shift
    [ $# -gt 0 ] || return
    by=$((by % $#))
    while [ $by -gt 0 ]; do
        first=$1
        shift
        set -- "$@" "$first"
        by=$((by - 1))
    done
    echo "$*"
}

each_case() { # flag, workload, rt, arguments...
    wanted "$1" "$2" || return
    workload=$2 rt=$3
    [ "$workload" != chan_bytes ] || [ -n "$counter" ] || return
    shift 3
    note "$workload $rt $*"
    round=0
    while [ $round -lt "$ROUNDS" ]; do
        if [ "$workload" = echo ]; then
            for p in $(rotate $round $echo_peers); do
                measure_echo "$p" $round "$rt" "$@"
            done
        else
            for p in $(rotate $round $peers); do
                measure "$p" $round "$workload" "$rt" "$@"
            done
        fi
        round=$((round + 1))
    done
}

cases | while read -r one; do
    each_case $one </dev/null
done

# ---------------------------------------------------------------------------------------------- report

# A cell is the median over the rounds, (lowest..highest), [CPU time]; a ratio is the median of the
# ratios within the rounds, (lowest..highest), [the same of CPU time]; below 1 crt is faster, or smaller.
# "best" is, for each row, the peer with the lowest median.
table() { # which, what to take ratios to, columns...
    which=$1 against=$2
    shift 2
    awk -F'\t' -v which="$which" -v against="$against" -v columns="$*" '
    function short(x) { return x == "" ? "" : sprintf(x < 99.95 ? "%.1f" : "%.0f", x) }
    function sort(v, n,    i, j, x) {
        for (i = 2; i <= n; i++) {
            x = v[i]
            for (j = i - 1; j > 0 && v[j] > x; j--) v[j + 1] = v[j]
            v[j + 1] = x
        }
    }
    function median(v, n) { return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2 }
    function middle(label, peer,    n, r, v) { # "" if there is none
        for (r = 0; r <= last; r++) if ((label, peer, r) in figure) v[++n] = figure[label, peer, r]
        if (!n) return ""
        sort(v, n)
        return median(v, n)
    }
    function best(label,    k, x, lowest, who) {
        for (k = 1; k <= p; k++) if (peer[k] !~ /^crt/ && (x = middle(label, peer[k])) != "")
            if (who == "" || x < lowest) { lowest = x; who = peer[k] }
        return who
    }
    function cell(label, peer,    n, m, r, v, c, text) {
        for (r = 0; r <= last; r++) if ((label, peer, r) in figure) {
            v[++n] = figure[label, peer, r]
            if (cpu[label, peer, r] != "") c[++m] = cpu[label, peer, r]
        }
        if (!n) return "-"
        sort(v, n)
        text = short(median(v, n)) " (" short(v[1]) ".." short(v[n]) ")"
        if (m) { sort(c, m); text = text " [" short(median(c, m)) "]" }
        return text
    }
    function ratio(label, what,    peer, n, m, r, v, c, text) {
        peer = what == "best" ? best(label) : what
        for (r = 0; r <= last; r++) if ((label, "crt", r) in figure && figure[label, peer, r] > 0) {
            v[++n] = figure[label, "crt", r] / figure[label, peer, r]
            if (cpu[label, "crt", r] != "" && cpu[label, peer, r] > 0) c[++m] = cpu[label, "crt", r] / cpu[label, peer, r]
        }
        if (!n) return "-"
        sort(v, n)
        text = sprintf("%.2f (%.2f..%.2f)", median(v, n), v[1], v[n])
        if (m) { sort(c, m); text = text sprintf(" [%.2f]", median(c, m)) }
        return what == "best" ? text " " peer : text
    }
    $1 == which {
        if (!($2 in known)) { known[$2]; order[++rows] = $2 }
        figure[$2, $3, $4] = $5 + 0; cpu[$2, $3, $4] = $6
        if ($4 > last) last = $4
    }
    END {
        if (!rows) exit
        p = split(columns, peer, " ")
        a = peer[1] == "crt" ? split(against, versus, " ") : 0
        width = p + 1 + a
        at[0, 1] = "workload"
        for (k = 1; k <= p; k++) at[0, k + 1] = peer[k]
        for (k = 1; k <= a; k++) at[0, p + 1 + k] = "crt/" versus[k]
        for (i = 1; i <= rows; i++) {
            at[i, 1] = order[i]
            for (k = 1; k <= p; k++) at[i, k + 1] = cell(order[i], peer[k])
            for (k = 1; k <= a; k++) at[i, p + 1 + k] = ratio(order[i], versus[k])
        }
        for (k = 1; k <= width; k++)
            for (i = 0; i <= rows; i++) if (length(at[i, k]) > widest[k]) widest[k] = length(at[i, k])
        for (i = 0; i <= rows; i++) {
            for (k = 1; k <= width; k++) printf(k < width ? "%-*s  " : "%-*s\n", k < width ? widest[k] : 0, at[i, k])
        }
        print ""
    }' "$raw"
}

{
    echo "crt beside its peers: ns per operation unless the row says otherwise, lower is better."
    echo "median of $ROUNDS rounds (lowest..highest) [CPU ns of all threads]; crt/peer below 1: crt needs less."
    echo "On a machine with other work to do the wall time is partly theirs: look at the brackets."
    echo "$(nproc) CPUs, $(uname -sm); $($CC --version | head -n 1); Tokio ${tokio_version:-missing}," \
        "$(rustc --version 2>/dev/null); $(go version 2>/dev/null | cut -d' ' -f3); $(uptime | sed 's/.*load/load/')"
    echo
    table core "${NOISE:+crt-again }best" $peers
    table echo "${echo_peers#*crt }" $echo_peers
} | tee "$OUT"
note "written to $OUT"
