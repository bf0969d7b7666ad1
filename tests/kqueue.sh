#!/bin/sh
# The suite over crt_platform_kqueue.h, on a kqueue made of epoll (tests/kqueue_shim).
#
#   tests/kqueue.sh                     everything; the last line is "N passed, N failed"
#   TESTS="test_io test_net" tests/kqueue.sh
#   SYSTEM=plain tests/kqueue.sh        a system without EVFILT_USER, SOCK_CLOEXEC, ...
#   SYSTEM=freebsd tests/kqueue.sh      what is behind #ifdef __FreeBSD__; also openbsd, netbsd, netbsd9
#   CFLAGS="-O1 -g -fsanitize=address,undefined" B=.build/kqueue_asan tests/kqueue.sh
# Without TESTS and SYSTEM: all programs on a system that has everything, and on each of the
# others the implementation with all warnings and the programs nearest to the reactor.
CC=${CC:-cc}
CFLAGS=${CFLAGS:--O0 -g}   # the programs do not wait for their own code
B=${B:-.build/kqueue}
cd "$(dirname "$0")/.." || exit 1
[ "$(uname)" = Linux ] || { echo "kqueue: the shim runs on Linux only; here, make test runs over the system's own"; exit 0; }
NEAREST="test_smoke test_io test_signal test_sockets"
WARN="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wimplicit-fallthrough -Wstrict-prototypes -Wundef"
KQUEUE="-D_GNU_SOURCE -DCRT_PLATFORM_KQUEUE -Itests/kqueue_shim"
SHIM=$B/kqueue.o
whole=; [ -n "$TESTS$SYSTEM" ] || whole=1
# Left out of the whole, and why; it is said again at the end.
left_out()
{
    cat <<'WHY'
left out of the suite over kqueue:
  test_sim                    brings a reactor of its own, a simulated kernel
  test_explore, model_*       the explorer's threads run one at a time: there is no reactor in them
  in test_runtime             the affinity mask: macOS and OpenBSD have none
  in test_known_bugs          what epoll is asked for a time-out; over kqueue the rest of that test runs
WHY
}
[ -n "$TESTS" ] || TESTS=$(ls tests/test_*.c | sed 's,.*/,,; s,\.c$,,' | grep -vx -e test_sim -e test_explore | tr '\n' ' ')
case $SYSTEM in
'') ;;
plain) KQUEUE="$KQUEUE -DKQUEUE_SHIM_PLAIN" ;;
freebsd | openbsd | netbsd | netbsd9)
    KQUEUE="$KQUEUE -DKQUEUE_SHIM_$(echo "$SYSTEM" | tr a-z A-Z)"
    BSD="-include tests/kqueue_shim/bsd.h" SHIM="$SHIM $B/bsd.o" ;;
*) echo "kqueue: no system called $SYSTEM"; exit 1 ;;
esac
mkdir -p "$B" || exit 1
echo '#define CRT_IMPLEMENTATION
#include "crt.h"' >"$B/warnings.c"
$CC -std=c11 $KQUEUE $BSD $WARN -Werror -O1 -fsyntax-only -I. "$B/warnings.c" || exit 1
for o in $SHIM; do
    $CC -std=c11 $CFLAGS $KQUEUE -Wall -Wextra -Wshadow -c "tests/kqueue_shim/$(basename "$o" .o).c" -o "$o" || exit 1
done

# What is newer than its program is built again, $JOBS at a time.
build()
{
    for t in $TESTS; do
        [ -e "$B/$t" ] && [ -z "$(find crt.h crt_platform_kqueue.h "tests/$t.c" tests/*.h tests/fuzz_*.c tests/kqueue_shim \
            -newer "$B/$t" -type f)" ] || echo "$t"
    done
}
build | xargs -P "${JOBS:-2}" -I{} $CC -std=c11 $CFLAGS -Wall -Wextra -Wshadow \
    -Wno-missing-field-initializers -I. -Itests $KQUEUE $BSD tests/{}.c $SHIM -o "$B/{}" \
    -Wl,--wrap=close,--wrap=waitid -pthread || exit 1
[ -n "$whole" ] || exec sh tests/run.sh "$B" $TESTS

{
    sh tests/run.sh "$B" $TESTS
    for system in plain freebsd openbsd netbsd netbsd9; do
        echo "--- taken for: $system"
        SYSTEM=$system TESTS=$NEAREST B=$B/$system CC=$CC CFLAGS=$CFLAGS sh tests/kqueue.sh || echo "0 passed, 1 failed"
    done
} | tee "$B/result"
left_out
# A system that does not even compile counts as one that failed.
sum() { grep -E '^[0-9]+ passed, [0-9]+ failed$' "$B/result" | awk -v n="$1" '{ s += $n } END { print s + 0 }'; }
echo "$(sum 1) passed, $(sum 3) failed"
[ "$(sum 3)" -eq 0 ]
