#!/bin/sh
# Runs crt beside its peers on this machine and prints who needs how long, and how that stands to the targets.
#
#   bench/run.sh              every workload (under half an hour)
#   bench/run.sh quick        the ones that matter most, about two minutes
#   bench/run.sh sync         channels and locks, and what an empty channel keeps
#   bench/run.sh mt1          as full, with the multi-thread runtimes of one worker as well
#   bench/run.sh NAME...      all cases of these workloads or groups, e.g. bench/run.sh mutex echo counts
#
# Environment: ROUNDS, SECS (seconds for each run), ECHO_SECS (for each load on a server), PEERS ("crt tokio epoll":
# only these), CC, CXX, CFLAGS, OUT (the report), BUILD (a directory), NOISE=1 (a second column of crt itself, and
# one of its ratios to it: what this machine makes out of nothing).
#
# The last column holds crt against the peer that is best at that workload, and names it.
#
# The programs take turns, in an order that rotates from round to round, and each ratio is taken within
# a round: what the machine does to one of them it then does to its neighbour as well.
# shellcheck disable=SC2046,SC2086,SC2154  # lists of words are kept in plain variables and split on purpose
set -u
here=$(cd "$(dirname "$0")" && pwd)
names=$*
mode=${1:-full}
case $mode in
quick) ROUNDS=${ROUNDS:-2} SECS=${SECS:-0.04} ECHO_SECS=${ECHO_SECS:-0.4} wrk_secs=1 settings="warm=1 miniter=2" ;;
*)     ROUNDS=${ROUNDS:-3} SECS=${SECS:-0.2} ECHO_SECS=${ECHO_SECS:-2} wrk_secs=2 settings= ;;
esac
. "$here/build.sh"
. "$here/counts.sh"
OUT=${OUT:-$BUILD/report.txt}

# ------------------------------------------------------------------------------------- what to build

peers=
if compile bench_core bench_core.c -g; then peers="crt${NOISE:+ crt-again}"
else failed "crt: bench_core.c does not build, see $log; measuring the peers alone"; fi
build_tokio
build_go
build_uv
build_asio
build_counter
if compile epoll_echo epoll_echo.c; then peers="$peers epoll"
else note "epoll: skipped, epoll_echo.c does not build, see $log"; fi
loads=
if compile loadgen loadgen.c; then loads=1
else note "echo: skipped, loadgen.c does not build, see $log"; fi
if [ -n "${PEERS:-}" ]; then
    all=$peers peers=
    for p in $all; do case " $PEERS " in *" $p "*) peers="$peers $p" ;; esac; done
fi
[ -n "$peers" ] || { note "nothing to run"; exit 1; }
# Servers are not measured with other allocators: they allocate nothing for a request.
servers=
for p in $peers; do case $p in tokio+*) ;; *) servers="$servers $p" ;; esac; done

# The server on one core, the load on the other.
pin_server='' pin_load=''
if ! have taskset; then note "servers are not pinned to a core; apt-get install util-linux"
else
    set -- $(taskset -cp $$ | sed 's/.*: //' | awk -F, '{
        for (i = 1; i <= NF; i++) { n = split($i, r, "-"); for (c = r[1]; c <= r[n]; c++) printf "%d ", c } }')
    if [ $# -ge 2 ]; then pin_server="taskset -c $1" pin_load="taskset -c $2"
    else note "one CPU only: the servers share it with their load"; fi
fi

# ---------------------------------------------------------------------------------------------- cases

# workload rt arguments, below the name of their group; in front the modes beside full that it is part of: "q" quick,
# "s" sync; "1": not in full, only in mt1.
cases() {
    cat <<'END'
[scheduler]
q spawn_many_local mt2
q spawn_many_local ct
1 spawn_many_local mt1
q spawn_join_local mt2
q spawn_join_local ct
1 spawn_join_local mt1
q spawn_many_remote_idle mt2
1 spawn_many_remote_idle mt1
- spawn_many_remote_idle ct
q chained_spawn mt2
1 chained_spawn mt1
- chained_spawn ct
q yield_many mt2
1 yield_many mt1
q yield_many ct
q yield_one mt2
1 yield_one mt1
q yield_one ct
- yield_one mt2 io=1
q yield_one ct io=1
q ping_pong mt2
1 ping_pong mt1
- ping_pong ct
q fib mt2
1 fib mt1
- fib ct
- skynet mt2
1 skynet mt1
- skynet ct
[timers]
q timer_cancel mt2 miniter=1
1 timer_cancel mt1
q timer_cancel ct
- timer_cancel mt2 live=100000
- timer_cancel ct live=100000
q timer_cancel mt2 tick=10
- timer_cancel ct tick=10
- timer_cancel mt2 live=100000 tick=10
- timer_cancel ct live=100000 tick=10
q timeout_ready mt2
1 timeout_ready mt1
- timeout_ready ct
- timeout_yield mt2
q timeout_yield ct
- timeout_yield mt2 live=100000
- timeout_yield ct live=100000
- timeout_yield mt2 tick=10
- timeout_yield ct tick=10
q sleep_fixed mt2
1 sleep_fixed mt1
q sleep_fixed ct
- sleep_rand mt2 miniter=1 warm=1
1 sleep_rand mt1 miniter=1 warm=1
- sleep_rand ct miniter=1 warm=1
- sleep_rand mt2 n=10000 miniter=1 warm=0 late=1
- sleep_rand ct n=10000 miniter=1 warm=0 late=1
[blocking]
q spawn_blocking mt2
1 spawn_blocking mt1
- spawn_blocking ct
- spawn_blocking mt2 cap=4
q spawn_blocking_seq mt2 miniter=1
1 spawn_blocking_seq mt1
- spawn_blocking_seq ct
[messages]
qs oneshot mt2
1 oneshot mt1
s oneshot ct
q request_reply mt2
1 request_reply mt1
- request_reply ct
q request_reply mt2 client=main miniter=1
- request_reply ct client=main
qs mpsc mt2
1 mpsc mt1
s mpsc ct
qs mpsc mt2 prod=5
1 mpsc mt1 prod=5
s mpsc ct prod=5
s mpsc mt2 cap=0
s mpsc ct cap=0
s mpsc mt2 prod=5 cap=0
s mpsc ct prod=5 cap=0
s mpsc_uncontended mt2
s mpsc_uncontended ct
s mpsc_uncontended mt2 cap=0
s mpsc_uncontended ct cap=0
qs notify_pingpong mt2
1 notify_pingpong mt1
s notify_pingpong ct
qs broadcast_stream mt2 miniter=3
1 broadcast_stream mt1
s broadcast_stream ct
s broadcast mt2
s broadcast ct
qs watch mt2
s watch ct
[locks]
qs mutex_uncontended mt2
1 mutex_uncontended mt1
s mutex_uncontended ct
qs mutex mt2
1 mutex mt1
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
[memory]
q mem mt2 kind=notify n=100000
- mem mt2 kind=pending
- mem mt2 kind=notify
- mem mt2 kind=sleep
qs chan_bytes ct kind=mpsc
s chan_bytes ct kind=unbounded
s chan_bytes ct kind=oneshot
s chan_bytes ct kind=broadcast
s chan_bytes ct kind=watch
q empty mt2
q empty ct
[idle]
q idle mt2 secs=1
- idle ct secs=1
[echo in one program]
q echo_pairs mt2
- echo_pairs ct
[echo]
q echo ct conns=50 depth=1
- echo ct conns=50 depth=16
- echo ct conns=1000 depth=1
- echo ct conns=1000 depth=16
- echo ct conns=10000 depth=1
- echo ct conns=10000 depth=16
- echo mt2 conns=50 depth=1
- echo ct conns=10000 idle=0.5
q echo ct conns=10000 idle=0.5 lean=1
[http]
q http ct conns=50
- http mt2 conns=50
[bad neighbour]
q echo mt2 conns=10 depth=1 spin=100
END
}

wanted() { # flags, workload
    case $mode in
    full)  case $1 in *1*) return 1 ;; esac ;;
    mt1)   return 0 ;;
    quick) case $1 in *q*) return 0 ;; *) return 1 ;; esac ;;
    sync)  case $1 in *s*) return 0 ;; *) return 1 ;; esac ;;
    *)     case " $names " in *" $2 "* | *" ${group%% *} "*) return 0 ;; *) return 1 ;; esac ;;
    esac
}

# ------------------------------------------------------------------------------------------- measuring

# Lines of: group, label, peer, round, figure, CPU figure. Lower is better in all of them.
raw=$BUILD/raw.tsv
: >"$raw"
: >"$BUILD/switches.tsv"   # of the same shape, for a table at the end

measure() { # peer, round, workload, rt, arguments...
    peer=$1 round=$2 workload=$3 rt=$4
    shift 4
    preload=
    [ "$workload" != chan_bytes ] || preload=$counter
    line=$(within="timeout 60" && run "$peer" "$workload" rt="$rt" secs="$SECS" $settings "$@" 2>>"$log")
    status=$?
    [ $status -ne 3 ] || return 0   # has no counterpart of it
    # A line and another status: it died, or hung, on its way out.
    if [ $status -ne 0 ] || [ -z "$line" ]; then
        failed "$peer $workload $rt $*, round $round: status $status, ${line:-no result}; see $log"
        return
    fi
    echo "$line" | awk -v group="$group" -v peer="$peer" -v round="$round" -v OFS='\t' -v switches="$BUILD/switches.tsv" '
        function row(key, unit, factor) { # for a figure that is given by name
            if (key in v) print group, $1 " " $2 " (" unit ")", peer, round, v[key] * factor, ""
        }
        {
            for (i = 12; i <= NF; i++) if (split($i, kv, "=") == 2) v[kv[1]] = kv[2] + 0
            # these are bytes, or counts, and no time
            if ($1 !~ /^(mem|empty|idle|chan_bytes)$/) {
                print group, $1 " " $2, peer, round, $5, $10
                print "context switches per operation", "switches of " $1 " " $2, peer, round, $11, "" >>switches
            }
            row("rss_bytes_per_task", "bytes per task", 1)
            if ($1 == "mem") row("peak_rss", "peak bytes", 1024)
            row("anon_bytes", "bytes", 1)
            row("created", "bytes, just made", 1)
            row("drained", "bytes, emptied", 1)
            row("wakeups_per_s", "wake-ups per second", 1)
            row("cpu_us_per_s", "CPU us per second", 1)
            row("p99", "p99 late, us", 1)
            row("early_us", "earliest, us too early", 1)
        }' >>"$raw"
}

# Starts the server for measure_echo and measure_http: pinned, if it is one thread.
serve() { # peer, workload, rt, arguments...
    preload='' within='' load=
    [ "$3" != ct ] || within=$pin_server load=$pin_load
    served=$1 serves=$2 rt=$3
    shift 3
    start_server "$served" "$serves" rt="$rt" "$@"
}

# Three rows for one line of rps=, p99_us=, srv_user_us=, srv_cpu_us=; for the bad neighbour two of latency.
server_rows() { # label
    awk -v group="$group" -v peer="$peer" -v round="$round" -v label="$1" -v OFS='\t' '{
        for (i = 1; i <= NF; i++) if (split($i, kv, "=") == 2) v[kv[1]] = kv[2]
        if ("bytes_per_conn" in v) { print group, label " (bytes per idle connection)", peer, round, v["bytes_per_conn"], ""; exit }
        print group, label " (p99 us)", peer, round, v["p99_us"], ""
        if (label ~ /spin=/) { print group, label " (slowest us)", peer, round, v["max_us"], ""; exit }
        print group, label " (ns between requests)", peer, round, 1e9 / v["rps"], v["srv_cpu_us"] * 1000
        print group, label " (server user ns)", peer, round, v["srv_user_us"] * 1000, ""
    }' >>"$raw"
}

measure_echo() { # peer, round, rt, arguments...
    peer=$1 round=$2 rt=$3
    shift 3
    serve "$peer" serve_echo "$rt" "$@" || return
    line=$(timeout 60 $load "$BUILD/loadgen" port="$port" pid="$server" secs="$ECHO_SECS" warm=0.3 "$@" 2>>"$log")
    stop_server
    [ -n "$line" ] || { failed "$peer echo $rt $*, round $round: no result, see $log"; return; }
    echo "$line" | server_rows "echo $rt,$(echo "$*" | tr ' ' ,)"
}

measure_http() { # peer, round, rt, conns=N
    peer=$1 round=$2 rt=$3 conns=${4#conns=}
    serve "$peer" serve_http "$rt" || return
    cpu_ticks() { awk '{ sub(/.*\) /, ""); print $12, $13 }' "/proc/$server/stat"; }
    before=$(cpu_ticks)
    said=$(timeout 20 $load wrk -t1 -c"$conns" -d"${wrk_secs}s" --latency "http://127.0.0.1:$port/" 2>>"$log")
    after=$(cpu_ticks)
    stop_server
    echo "$before $after $(getconf CLK_TCK) $said" | awk '
        NR == 1 { user = $3 - $1; all = user + $4 - $2; tick = 1e6 / $5 }
        $1 == "99%" { p99 = $2 * ($2 ~ /us$/ ? 1 : $2 ~ /ms$/ ? 1e3 : 1e6) }
        $2 == "requests" && $3 == "in" { n = $1 }
        $1 == "Requests/sec:" { rps = $2 }
        /Non-2xx|Socket errors/ { bad = 1 }
        END {
            if (bad || !n) { print "no result"; exit }
            print "rps=" rps, "p99_us=" p99, "srv_user_us=" user * tick / n, "srv_cpu_us=" all * tick / n
        }' >"$BUILD/http.out"
    if grep -q rps= "$BUILD/http.out"; then server_rows "http $rt,conns=$conns" <"$BUILD/http.out"
    else failed "$peer http $rt conns=$conns, round $round: no result"; fi
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

can_run() { # workload
    case $1 in
    chan_bytes) [ -n "$counter" ] ;;
    echo)       [ -n "$loads" ] ;;
    http)       have wrk ;;
    esac
}

each_case() { # flags, workload, rt, arguments...
    wanted "$1" "$2" && can_run "$2" || return
    workload=$2 rt=$3
    shift 3
    note "$workload $rt $*"
    round=0
    while [ $round -lt "$ROUNDS" ]; do
        case $workload in
        echo | http) for p in $(rotate $round $servers); do measure_$workload "$p" $round "$rt" "$@"; done ;;
        *)           for p in $(rotate $round $peers); do measure "$p" $round "$workload" "$rt" "$@"; done ;;
        esac
        round=$((round + 1))
    done
}

have wrk || note "http: skipped; apt-get install wrk"
group=
cases | while read -r one; do
    case $one in
    \[*) group=${one#[}; group=${group%]} ;;
    *)   each_case $one </dev/null ;;
    esac
done

# Counts per operation; one round, as they do not wobble.
count_all() {
    find_tools
    count_cases | while read -r one; do
        case $one in *' mt1 '*) continue ;; esac
        note "counts: $one"
        for tool in $tools; do
            for p in $servers; do
                case $tool$p in instructionsgo | allocationsgo) continue ;; esac   # Go has its own of both
                got=$(count_per_op $tool "$p" $one </dev/null)
                [ -z "$got" ] || printf '%s\t%s (%s)\t%s\t0\t%s\t\n' "counts per operation" "$one" $tool "$p" "$got" >>"$raw"
            done
        done
    done
}

# Whole programs, from exec to exit.
time_programs() {
    have hyperfine || { note "whole programs: skipped; apt-get install hyperfine"; return; }
    once="warm=0 secs=0 miniter=1 maxiter=1"
    for one in "spawn_join_local rt=mt2 n=1000000" "echo_pairs rt=mt2 n=100000" "timer_cancel rt=mt2 n=1000000 tick=10"; do
        note "whole program: $one"
        round=0
        while [ $round -lt "$ROUNDS" ]; do
            for p in $(rotate $round $peers); do
                allocator=
                case $p in
                tokio+jemalloc) allocator=$jemalloc ;;
                tokio+mimalloc) allocator=$mimalloc ;;
                crt* | tokio | go) ;;
                *) continue ;;
                esac
                LD_PRELOAD=$allocator hyperfine -N --style none --warmup 1 --runs 3 --export-csv "$BUILD/hyperfine.csv" \
                    "'$(program_of "$p")' $one $once" >>"$log" 2>&1 || continue
                awk -F, -v label="$one" -v p="$p" -v round=$round -v OFS='\t' \
                    'NR == 2 { print "whole programs (ms)", label, p, round, $4 * 1000, ($5 + $6) * 1000 }' "$BUILD/hyperfine.csv" >>"$raw"
            done
            round=$((round + 1))
        done
    done
}

# Bytes of machine code, and how long the compiler takes.
compile_row() { # label, file, flags...
    label=$1 file=$2
    shift 2
    start=$(date +%s%N)
    $CC -std=c11 "$@" -c "$file" -o "$BUILD/size.o" >>"$log" 2>&1 || return
    printf '%s\t%s\tcrt\t%s\t%s\t\n' "size and compile time" "compile $label (ms)" "$round" $((($(date +%s%N) - start) / 1000000)) >>"$raw"
}
text_row() { # label, flags...
    label=$1
    shift
    $CC -std=c11 -Os -DNDEBUG "$@" -c "$here/hello.c" -o "$BUILD/size.o" >>"$log" 2>&1 || return
    printf '%s\t%s\tcrt\t0\t%s\t\n' "size and compile time" "hello server, -Os, $label (text bytes)" "$(size "$BUILD/size.o" | awk 'NR == 2 { print $1 }')" >>"$raw"
}
compile_all() {
    note "size and compile time"
    printf '#define CRT_IMPLEMENTATION\n#include "%s/crt.h"\n' "${here%/*}" >"$BUILD/implementation.c"
    printf '#include "%s/crt.h"\nint main(void) { return 0; }\n' "${here%/*}" >"$BUILD/declarations.c"
    round=0
    while [ $round -lt "$ROUNDS" ]; do
        compile_row "declarations" "$BUILD/declarations.c" -O2
        compile_row "implementation, -O2" "$BUILD/implementation.c" -O2
        round=$((round + 1))
    done
    text_row "everything that can be called"
    text_row "CRT_STATIC: what it uses" -DCRT_STATIC
    text_row "CRT_STATIC CRT_NO_FS CRT_NO_PROCESS" -DCRT_STATIC -DCRT_NO_FS -DCRT_NO_PROCESS
    ! grep -q CRT_NO_THREADS "${here%/*}/crt.h" || text_row "CRT_STATIC CRT_NO_THREADS: current thread only" -DCRT_STATIC -DCRT_NO_THREADS
}

group=counts;   ! wanted - counts   || count_all
group=programs; ! wanted - programs || time_programs
group=size;     ! wanted - size     || compile_all

# ---------------------------------------------------------------------------------------------- report

: >"$BUILD/verdicts.tsv"
cat "$BUILD/switches.tsv" >>"$raw"
{
    echo "crt beside its peers: ns per operation unless the row says otherwise, lower is better."
    echo "median of $ROUNDS rounds (lowest..highest) [CPU ns of all threads]; crt/best below 1: crt needs less than"
    echo "the best other column. On a machine with other work to do the wall time is partly theirs: look at the brackets."
    echo "$(nproc) CPUs, $(uname -sm); $($CC --version | head -n 1); Tokio ${tokio_version:-missing}," \
        "$(rustc --version 2>/dev/null); $(go version 2>/dev/null | cut -d' ' -f3); $(uptime | sed 's/.*load/load/')"
    echo
    awk -F'\t' -v columns="$peers" -v verdicts="$BUILD/verdicts.tsv" -f "$here/figures.awk" -f "$here/report.awk" \
         "$here/targets.tsv" "$raw"
    [ ! -s "$failures" ] || { echo "NOT MEASURED, and missing above:"; cat "$failures"; }
} | tee "$OUT"
for plot in targets throughput cpu p99; do
    awk -F'\t' -v plot=$plot -v columns="$peers" -f "$here/figures.awk" -f "$here/plot.awk" \
         "$BUILD/verdicts.tsv" "$raw" >"$BUILD/$plot.svg"
done
note "written to $OUT and, as plots, to $BUILD/{targets,throughput,cpu,p99}.svg"
[ ! -s "$failures" ]
