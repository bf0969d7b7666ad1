# Sourced by run.sh and check.sh: what an operation costs in things that do not wobble. A program is run twice, with
# few and with more iterations; the difference, divided by the operations in between, leaves start and end out.
# shellcheck shell=sh disable=SC2034,SC2046,SC2086,SC2154

# What to count: workload, rt, arguments. One worker only, as several take turns as they like.
count_cases() {
    cat <<'END'
spawn_many_local ct n=10000
spawn_many_local mt1 n=10000
spawn_join_local ct n=10000
chained_spawn ct n=1000
yield_many ct tasks=200 n=100
yield_many mt1 tasks=200 n=100
yield_one ct n=20000
yield_one mt1 n=20000
ping_pong ct n=1000
fib ct n=18
skynet ct n=10000
timer_cancel ct n=20000
timeout_ready ct n=20000
oneshot ct n=20000
request_reply ct n=10000
request_reply mt1 n=10000
mpsc ct n=20000
mpsc mt1 n=20000
mpsc ct n=20000 prod=5
mpsc ct n=20000 cap=0
mpsc_uncontended ct n=5000
mutex_uncontended ct n=20000
mutex ct n=5000
mutex ct n=5000 hold=1
semaphore_uncontended ct n=20000
semaphore ct n=5000
semaphore ct n=5000 hold=1
rwlock_read ct n=5000
notify_pingpong ct n=10000
notify_pingpong mt1 n=10000
broadcast ct n=100
broadcast_stream ct n=5000
watch ct n=100
echo_pairs ct n=5000
serve_echo ct conns=1
serve_echo ct conns=50
serve_http ct conns=1
END
}

# Finds out which tools there are, and work here; the list is then in $tools.
find_tools() {
    tools=
    if ! have valgrind; then note "instructions: not counted; apt-get install valgrind"
    elif (within=$(tool_words instructions) preload='' && cd "$BUILD" && $within true) >>"$log" 2>&1; then
        tools=instructions
    else note "instructions: not counted, valgrind does not work here, see $log"; fi
    if ! have strace; then note "system calls: not counted; apt-get install strace"
    elif (cd "$BUILD" && $(tool_words syscalls) true) >>"$log" 2>&1; then tools="$tools syscalls"
    else note "system calls: not counted, strace does not work here (may it trace processes?), see $log"; fi
    [ -z "$counter" ] || tools="$tools allocations"
}

tool_words() { # tool
    case $1 in
    instructions) echo "valgrind --tool=callgrind --callgrind-out-file=callgrind.out --log-file=count.out" ;;
    syscalls)     echo "strace -I2 -f -c -o count.out" ;;
    esac
}

read_count() { # tool
    case $1 in
    instructions) awk '/Collected :/ { print $NF }' "$BUILD/count.out" ;;
    syscalls)     awk '$NF == "total" { print $4 }' "$BUILD/count.out" ;;
    allocations)  cat "$BUILD/count.out" ;;
    esac
}

difference() { # count and operations of the short run, of the long run
    awk -v c="$1" -v n="$2" -v d="$3" -v m="$4" 'BEGIN { if (c != "" && d != "" && m > n) printf "%.4f", (d - c) / (m - n) }'
}

# The number per operation, or nothing if the peer has no counterpart.
count_per_op() { # tool, peer, workload, rt, arguments...
    tool=$1 peer=$2 workload=$3 rt=$4
    shift 4
    preload='' within=$(tool_words $tool)
    [ $tool != allocations ] || preload=$counter
    case $workload in
    serve_*) set -- $(count_served requests=200 "$@") $(count_served requests=1200 "$@") ;;
    *)       set -- $(count_iterations 1 "$@") $(count_iterations 3 "$@") ;;
    esac
    [ $# -ne 4 ] || difference "$@"
}

count_iterations() { # how many, arguments...
    k=$1
    shift
    within="timeout 120 $within"
    line=$(run $peer $workload rt=$rt "$@" warm=0 secs=0 miniter=$k maxiter=$k 2>>"$log") || return
    echo "$(read_count $tool) $(echo "$line" | awk -v k="$k" '{ print $3 * k }')"
}

# In a server: a client sends so many messages, each when the one before has come back.
count_served() { # arguments...
    start_server $peer $workload rt=$rt || return
    case $workload in serve_http) set -- http=1 "$@" ;; esac
    line=$(timeout 100 "$BUILD/loadgen" port="$port" "$@" 2>>"$log")
    stop_server
    [ -z "$line" ] || echo "$(read_count $tool) $(echo "$line" | awk '{ print $3 }')"
}
