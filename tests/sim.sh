#!/bin/sh
# The simulation at length, and the proof that it can fail.
#   tests/sim.sh [SEEDS]     10000: seeds of the long run; seeds for each planted bug: 2000
# 1. the same seeds give the same traces with every compiler that is there, at -O0 and -O2;
# 2. the long run;
# 3. lies of the kernel or the clock (SIM_BUG in sim_platform.h) are found;
# 4. mistakes in crt.h and crt_platform_epoll.h, planted by sed, are found.
# For 3 and 4 it prints in which seed, counted from 1.
cd "$(dirname "$0")/.." || exit 1
B=${B:-.build}/sim
seeds=${1:-10000}
mkdir -p "$B" || exit 1
passed=0; failed=0
ok() { passed=$((passed + 1)); printf '%s\n' "$1"; }
bad() { failed=$((failed + 1)); printf 'FAILED: %s\n' "$1"; }
build() { # compiler, program, flags...
    compiler=$1; program=$2; shift 2
    $compiler -std=c11 -D_GNU_SOURCE -g -w "$@" -I. -Itests tests/test_sim.c -o "$B/$program" -pthread
}

# 1
first=
for compiler in ${CC:-gcc clang}; do
    command -v "$compiler" >/dev/null || { echo "skipped: $compiler is missing"; continue; }
    for level in -O0 -O2; do
        build "$compiler" "same$level" $level || { bad "$compiler $level does not compile"; continue; }
        SEEDS=1000 HASHES=1 "$B/same$level" cluster >"$B/hashes" 2>&1 || bad "$compiler $level: $(tail -n 3 "$B/hashes")"
        sum=$(grep '^seed' "$B/hashes" | cksum)
        lines=$(grep -c '^seed' "$B/hashes")
        if [ "$lines" != 1000 ]; then bad "$compiler $level: $lines traces, not 1000"; continue; fi
        if [ -z "$first" ]; then first=$sum; fi
        if [ "$sum" = "$first" ]; then ok "$compiler $level: 1000 traces, the same ($sum)"; else bad "$compiler $level gives other traces ($sum)"; fi
    done
done

# 2
build "${CC:-cc}" sim -O2 || exit 1
begun=$(date +%s)
if SEEDS=$seeds "$B/sim" cluster >"$B/log" 2>&1; then ok "$(grep ' seeds, ' "$B/log") in $(($(date +%s) - begun)) s"
else bad "$(grep -E '^seed|^replay' "$B/log")"; fi

# Two thousand worlds, for at most so many seconds of the processor: those of the clock depend on what else it does.
worlds() { (ulimit -S -t 30; SEEDS=2000 exec timeout 600 "$1" cluster) >"$2" 2>&1; } # program, log
# How that ended: found by a check, an assertion, a crash; no end (SIGXCPU, the harness's alarm, timeout).
ending() {
    case $1 in
    0) echo "not found" ;;
    1|132|134|135|136|139) echo found ;;
    3|124|152) echo "no end" ;;
    *) echo "status $1" ;;
    esac
}
build "${CC:-cc}" plain -O1 || exit 1
worlds "$B/plain" "$B/log" || bad "what follows proves nothing: without a mistake, $(ending $?), $(tail -n 1 "$B/log")"

# 3 and 4: each by itself, as many at once as there are processors.
cores=$(nproc 2>/dev/null || echo 2)
begun=0
rm -rf "$B"/one.*
alone() { # function, its arguments; what it prints is kept in order
    begun=$((begun + 1))
    dir=$B/one.$(printf '%03d' $begun)
    mkdir -p "$dir/tests"
    "$@" >"$dir/says" &
    [ $((begun % cores)) -ne 0 ] || wait
}
lie() { # number
    build "${CC:-cc}" "${dir##*/}/bug" -O1 "-DSIM_BUG=$1" || { bad "SIM_BUG=$1 does not compile"; return; }
    worlds "$dir/bug" "$dir/log"
    how=$(ending $?)
    line=$(grep -E '^seed' "$dir/log" | head -n 1)
    if [ "$how" = found ] && [ -n "$line" ]; then ok "SIM_BUG=$1: $line"; else bad "SIM_BUG=$1 in 2000 seeds: $how"; fi
}
mistake() { # file, what it is, sed expression, "no end" if that is how it shows
    cp crt.h crt_platform_epoll.h "$dir/"
    cp tests/test_sim.c tests/sim_platform.h tests/harness.h "$dir/tests/"
    sed -i "$3" "$dir/$1"
    if cmp -s "$1" "$dir/$1"; then bad "$2: the mutation does not fit $1 any more"; return; fi
    if ! (cd "$dir" && ${CC:-cc} -std=c11 -D_GNU_SOURCE -O1 -w -I. -Itests tests/test_sim.c -o planted -pthread); then
        bad "$2: does not compile"; return
    fi
    worlds "$dir/planted" "$dir/log"
    how=$(ending $?)
    line=$(grep -E '^seed' "$dir/log" | head -n 1)
    if [ "$how" = found ]; then ok "$2: ${line:-it crashes}"
    elif [ "$how" = "${4:-found}" ]; then ok "$2: $how"
    else bad "$2, in 2000 seeds: $how"; fi
}
plant() { alone mistake "$@"; }
for bug in 1 2 3 4 5 6; do alone lie $bug; done
plant crt.h "deadlines are rounded down" 's|((uint64_t)t + 999999) / 1000000|(uint64_t)t / 1000000|'
plant crt.h "a wake from outside does not reach the driver" '/^static void crt__driver_kick/,/^}/s|crt__reactor_wake(rt->reactor);|(void)0;|'
plant crt.h "the driver does not wait for timers" '/^static int64_t crt__driver_timeout/,/^}/s|return most < 0 .. left < most ? left : most;|return most;|'
plant crt.h "readiness is cleared although an event came since" 's|while (now >> 16 == seen >> 16)|while (now >> 32 == seen >> 32)|'
plant crt.h "the virtual clock jumps past a wake from outside" '/^static bool crt__virtual_idle/,/^}/s|== CRT__NOTIFIED_PARK) return false;|== CRT__NOTIFIED_PARK) (void)0;|'
plant crt.h "a write that goes on in parts leaves a byte out" 's|if (r > 0 \&\& all) done += (size_t)r;|if (r > 0 \&\& all) done += (size_t)r + (done \&\& done + (size_t)r < total);|'
plant crt.h "an abandoned connect stays open" '/^static void crt__attempt_end/,/^}/s|if (a->sock) crt__sock_unref(a->sock);||'
plant crt.h "a sleeping task that is cancelled stays in the wheel" '/^static void crt__timer_cancel/,/^}/s|crt__wheel_unlink(wheel, slot);|(void)0;|' "no end"
plant crt.h "a cancelled acquire keeps what it was granted" '/^static void crt__op_permits_cancel/,/^}/s|if (slot->state != CRT__SLOT_CLOSED) crt__permits_give.*|(void)0;|'
plant crt.h "a timer at the end of a level waits a turn too long" 's|uint32_t from = (now + 1) % CRT__WHEEL_SLOTS;|uint32_t from = (now + 2) % CRT__WHEEL_SLOTS;|'
plant crt.h "out of descriptors: accept fails instead of waiting" '/^static bool crt__accept_must_pause/,/^}/s|return e == EMFILE|return 0 \&\& e == EMFILE|'
plant crt_platform_epoll.h "writability is not asked for" 's/struct epoll_event e = {EPOLLIN | EPOLLOUT/struct epoll_event e = {EPOLLIN/'
plant crt_platform_epoll.h "a wake while the eventfd is full is dropped" 's#(errno == EAGAIN || errno == EINTR)#errno == EINTR#'
plant crt_platform_epoll.h "time-outs are rounded down to milliseconds" 's| + (timeout_ns % 1000000 != 0);|;|' "no end"
wait
cat "$B"/one.*/says
bads=$(cat "$B"/one.*/says | grep -c '^FAILED')
failed=$((failed + bads)); passed=$((passed + begun - bads))
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
