#!/bin/sh
# The suite over crt_platform_kqueue.h, on a kqueue made of epoll (tests/kqueue_shim).
#
#   tests/kqueue.sh                     everything; the last line is "N passed, N failed"
#   QUICK=1 tests/kqueue.sh             the suite once; openbsd and macos besides, the other systems are compiled only
#   TESTS="test_io test_net" tests/kqueue.sh
#   SYSTEM=plain tests/kqueue.sh        a system without EVFILT_USER, SOCK_CLOEXEC, ...
#   SYSTEM=macos tests/kqueue.sh        what its sockets and poll do otherwise than the BSDs'
#   SYSTEM=freebsd tests/kqueue.sh      what is behind #ifdef __FreeBSD__; also openbsd, netbsd, netbsd9
#   CFLAGS="-O1 -g -fsanitize=address,undefined" B=.build/kqueue/asan TESTS=test_io tests/kqueue.sh
# Everything is: all programs on a system that has everything, plain, under ASan with UBSan,
# and under TSan; on each of the others the implementation with all warnings and the programs
# nearest to the reactor. Two at a time are compiled and run; JOBS says otherwise.
CC=${CC:-cc}
CFLAGS=${CFLAGS:--O0 -g}   # the programs do not wait for their own code
B=${B:-.build/kqueue}
JOBS=${JOBS:-2}
cd "$(dirname "$0")/.." || exit 1
[ "$(uname)" = Linux ] || { echo "kqueue: the shim runs on Linux only; here, make test runs over the system's own"; exit 0; }
begun=$(date +%s)
mkdir -p "$B" || exit 1

# --- everything: this script, once for each part

passed=0 failed=0
# part WHAT NAME=VALUE...: what does not compile counts as one that failed.
part()
{
    echo "--- $1"; shift
    env B="$B" CC="$CC" CFLAGS="$CFLAGS" JOBS="$JOBS" "$@" sh tests/kqueue.sh 2>&1 | tee "$B/part"
    sum=$(tail -n 1 "$B/part" | grep -E '^[0-9]+ passed, [0-9]+ failed$') || sum="0 passed, 1 failed"
    passed=$((passed + ${sum%% *}))
    sum=${sum#*, }
    failed=$((failed + ${sum%% *}))
}
if [ -z "$TESTS$SYSTEM" ]; then
    nearest="test_smoke test_io test_signal test_sockets test_regressions_io"
    part "the suite" TESTS=all TEST_TIMEOUT="${TEST_TIMEOUT:-300}"
    for system in plain macos freebsd openbsd netbsd netbsd9; do
        if [ -z "$QUICK" ] || [ $system = openbsd ] || [ $system = macos ]; then
            part "taken for: $system" SYSTEM=$system TESTS="$nearest" B="$B/$system"
        else
            part "compiled for: $system" SYSTEM=$system TESTS=none B="$B/$system"
        fi
    done
    if [ -z "$QUICK" ]; then
        # On a busy machine a test that hands over some thousand times between threads takes minutes under them: the
        # harness gives it ten (TEST_SLOW) before it says that it hangs.
        slow="TEST_SLOW=1 TEST_TIMEOUT=${TEST_TIMEOUT:-900}"
        part "under ASan and UBSan" TESTS=all B="$B/asan" $slow \
            CFLAGS="-O0 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
        part "under TSan" TESTS=all B="$B/tsan" $slow CFLAGS="-O0 -g -fsanitize=thread"
    fi
    cat <<'WHY'
left out of the suite over kqueue:
  test_sim                    brings a reactor of its own, a simulated kernel
  test_syscalls               fails the system calls that Linux's header makes
  test_explore, model_*       the explorer's threads run one at a time: there is no reactor in them
  in test_runtime             the affinity mask: macOS and OpenBSD have none
  in test_known_bugs          what epoll is asked for a time-out; over kqueue the rest of that test runs
WHY
    echo "took $(($(date +%s) - begun)) s"
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
fi

# --- one part

WARN="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wimplicit-fallthrough -Wstrict-prototypes -Wundef"
KQUEUE="-D_GNU_SOURCE -DCRT_PLATFORM_KQUEUE -Itests/kqueue_shim"
SHIM=$B/kqueue.o
WRAP=-Wl
for call in close waitid getpeername getsockopt setsockopt fcntl poll writev; do WRAP="$WRAP,--wrap=$call"; done
case $TESTS in
'' | all)
    TESTS=$(ls tests/test_*.c | sed 's,.*/,,; s,\.c$,,' | grep -vx -e test_sim -e test_explore -e test_syscalls) ;;
none) TESTS= ;;
esac
case $SYSTEM in
'') ;;
plain | macos) KQUEUE="$KQUEUE -DKQUEUE_SHIM_$(echo "$SYSTEM" | tr a-z A-Z)" ;;
freebsd | openbsd | netbsd | netbsd9)
    KQUEUE="$KQUEUE -DKQUEUE_SHIM_$(echo "$SYSTEM" | tr a-z A-Z)"
    BSD="-include tests/kqueue_shim/bsd.h" SHIM="$SHIM $B/bsd.o" ;;
*) echo "kqueue: no system called $SYSTEM"; exit 1 ;;
esac
echo '#define CRT_IMPLEMENTATION
#include "crt.h"' >"$B/warnings.c"
$CC -std=c11 $KQUEUE $BSD $WARN -Werror -O1 -fsyntax-only -I. "$B/warnings.c" || exit 1
for o in $SHIM; do
    $CC -std=c11 $CFLAGS $KQUEUE -Wall -Wextra -Wshadow -c "tests/kqueue_shim/$(basename "$o" .o).c" -o "$o" || exit 1
done

# What is newer than its program is built again.
old()
{
    for t in $TESTS; do
        [ -e "$B/$t" ] && [ -z "$(find crt.h crt_platform_kqueue.h "tests/$t.c" tests/*.h tests/fuzz_*.c tests/kqueue_shim \
            -newer "$B/$t" -type f)" ] || echo "$t"
    done
}
old | xargs -r -P "$JOBS" -I{} $CC -std=c11 $CFLAGS -Wall -Wextra -Wshadow \
    -Wno-missing-field-initializers -I. -Itests $KQUEUE $BSD tests/{}.c $SHIM -o "$B/{}" \
    $WRAP -pthread || exit 1

# What run.sh says of one program, less its sum, as soon as it has ended.
for t in $TESTS; do echo "$t"; done | xargs -r -P "$JOBS" -I{} sh -c \
    'out=$(sh tests/run.sh "$1" "$2"); printf "%s\n" "$out" | sed "\$d" | grep -v "^took "' run "$B" {} | tee "$B/result"
sum() { awk -v n="$1" '/^test_[a-z_]* +[0-9]+ passed +[0-9]+ failed /{ s += $n } END { print s + 0 }' "$B/result"; }
echo "$(sum 2) passed, $(sum 4) failed"
[ "$(sum 4)" -eq 0 ]
