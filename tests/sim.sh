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
        if [ -z "$first" ]; then first=$sum; fi
        if [ "$sum" = "$first" ]; then ok "$compiler $level: 1000 traces, the same ($sum)"; else bad "$compiler $level gives other traces ($sum)"; fi
    done
done

# 2
build "${CC:-cc}" sim -O2 || exit 1
begun=$(date +%s)
if SEEDS=$seeds "$B/sim" cluster >"$B/log" 2>&1; then ok "$(grep ' seeds, ' "$B/log") in $(($(date +%s) - begun)) s"
else bad "$(grep -E '^seed|^replay' "$B/log")"; fi

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
    if SEEDS=2000 timeout 10 "$dir/bug" cluster >"$dir/log" 2>&1; then bad "SIM_BUG=$1 is not found in 2000 seeds"
    else ok "SIM_BUG=$1: $(grep -E '^seed' "$dir/log" | head -n 1)"; fi
}
mistake() { # file, what it is, sed expression
    cp crt.h crt_platform_epoll.h "$dir/"
    cp tests/test_sim.c tests/sim_platform.h tests/harness.h "$dir/tests/"
    sed -i "$3" "$dir/$1"
    if cmp -s "$1" "$dir/$1"; then bad "$2: the mutation does not fit $1 any more"; return; fi
    if ! (cd "$dir" && ${CC:-cc} -std=c11 -D_GNU_SOURCE -O1 -w -I. -Itests tests/test_sim.c -o planted -pthread); then
        bad "$2: does not compile"; return
    fi
    if SEEDS=2000 timeout 10 "$dir/planted" cluster >"$dir/log" 2>&1; then bad "$2: not found in 2000 seeds"; return; fi
    line=$(grep -E '^seed' "$dir/log" | head -n 1)
    ok "$2: ${line:-it crashes, or does not end}"
}
plant() { alone mistake "$@"; }
for bug in 1 2 3 4 5 6; do alone lie $bug; done
plant crt.h "deadlines are rounded down" 's|/ 1000000 + ((uint64_t)t % 1000000 != 0);|/ 1000000;|'
plant crt.h "a wake from outside does not reach the driver" '/^static void crt__driver_kick/,/^}/s|crt__reactor_wake(rt->reactor);|(void)0;|'
plant crt.h "the driver does not wait for timers" '/^static int64_t crt__driver_timeout/,/^}/s|return most < 0 .. left < most ? left : most;|return most;|'
plant crt.h "readiness is cleared although an event came since" 's|while (now >> 16 == seen >> 16)|while (now >> 32 == seen >> 32)|'
plant crt.h "the virtual clock jumps past a wake from outside" '/^static bool crt__virtual_idle/,/^}/s|== CRT__NOTIFIED_PARK) return false;|== CRT__NOTIFIED_PARK) (void)0;|'
plant crt.h "a write that goes on in parts leaves a byte out" 's|if (r > 0 \&\& all) done += (size_t)r;|if (r > 0 \&\& all) done += (size_t)r + (done \&\& done + (size_t)r < total);|'
plant crt.h "an abandoned connect stays open" '/^static void crt__attempt_end/,/^}/s|if (a->sock) crt__sock_unref(a->sock);||'
plant crt.h "a sleeping task that is cancelled stays in the wheel" '/^static void crt__timer_cancel/,/^}/s|crt__wheel_unlink(wheel, slot);|(void)0;|'
plant crt.h "a cancelled acquire keeps what it was granted" '/^static void crt__op_permits_cancel/,/^}/s|if (slot->state != CRT__SLOT_CLOSED) crt__permits_give.*|(void)0;|'
plant crt.h "a timer at the end of a level waits a turn too long" 's|uint32_t from = (now + 1) % CRT__WHEEL_SLOTS;|uint32_t from = (now + 2) % CRT__WHEEL_SLOTS;|'
plant crt.h "out of descriptors: accept fails instead of waiting" '/^static bool crt__accept_must_pause/,/^}/s|return e == EMFILE|return 0 \&\& e == EMFILE|'
plant crt_platform_epoll.h "writability is not asked for" 's/struct epoll_event e = {EPOLLIN | EPOLLOUT/struct epoll_event e = {EPOLLIN/'
plant crt_platform_epoll.h "a wake while the eventfd is full is dropped" 's#(errno == EAGAIN || errno == EINTR)#errno == EINTR#'
plant crt_platform_epoll.h "time-outs are rounded down to milliseconds" 's| + (timeout_ns % 1000000 != 0);|;|'
wait
cat "$B"/one.*/says
bads=$(cat "$B"/one.*/says | grep -c '^FAILED')
failed=$((failed + bads)); passed=$((passed + begun - bads))
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
