#!/bin/sh
# The suite over crt_platform_kqueue.h, on a kqueue made of epoll (tests/kqueue_shim).
#
#   tests/kqueue.sh                     everything; the last line is "N passed, N failed"
#   TESTS="test_io test_net" tests/kqueue.sh
#   CFLAGS="-O1 -g -fsanitize=address,undefined" B=.build/kqueue_asan tests/kqueue.sh
#   SYSTEM=plain tests/kqueue.sh        a system without EVFILT_USER, SOCK_CLOEXEC, ...
#   SYSTEM=freebsd tests/kqueue.sh      what is behind #ifdef __FreeBSD__; also openbsd, netbsd, netbsd9
CC=${CC:-cc}
CFLAGS=${CFLAGS:--O1 -g}
B=${B:-.build/kqueue}
cd "$(dirname "$0")/.." || exit 1
# What brings a reactor of its own and builds it on epoll's is left out.
[ -n "$TESTS" ] || TESTS=$(grep -L sim_platform tests/test_*.c tests/model_*.c | sed 's,.*/,,; s,\.c$,,' | tr '\n' ' ')
[ "$(uname)" = Linux ] || { echo "kqueue: the shim runs on Linux only; here, make test runs over the system's own"; exit 0; }
KQUEUE="-DCRT_PLATFORM_KQUEUE -Itests/kqueue_shim"
SHIM=$B/kqueue.o
case $SYSTEM in
'') ;;
plain) KQUEUE="$KQUEUE -DKQUEUE_SHIM_PLAIN" ;;
freebsd | openbsd | netbsd | netbsd9) KQUEUE="$KQUEUE -DKQUEUE_SHIM_$(echo "$SYSTEM" | tr a-z A-Z)" BSD="-include tests/kqueue_shim/bsd.h" ;;
*) echo "kqueue: no system called $SYSTEM"; exit 1 ;;
esac
mkdir -p "$B"
$CC -std=c11 $CFLAGS $KQUEUE -Wall -Wextra -Wshadow -c tests/kqueue_shim/kqueue.c -o "$B/kqueue.o" || exit 1
if [ -n "$BSD" ]; then
    $CC -std=c11 $CFLAGS $KQUEUE -Wall -Wextra -Wshadow -c tests/kqueue_shim/bsd.c -o "$B/bsd.o" || exit 1
    SHIM="$SHIM $B/bsd.o"
fi

# What is newer than its program is built again, $JOBS at a time.
build()
{
    for t in $TESTS; do
        [ -n "$(find "$B/$t" -newer crt.h -newer crt_platform_kqueue.h -newer "tests/$t.c" -newer tests/harness.h \
            -newer tests/kqueue_shim/kqueue.c -newer tests/kqueue_shim/bsd.h -newer tests/kqueue_shim/sys/event.h 2>/dev/null)" ] || echo "$t"
    done
}
build | xargs -P "${JOBS:-2}" -I{} $CC -std=c11 -D_GNU_SOURCE $CFLAGS -Wall -Wextra -Wshadow \
    -Wno-missing-field-initializers -I. -Itests $KQUEUE $BSD tests/{}.c $SHIM -o "$B/{}" \
    -Wl,--wrap=close,--wrap=waitid -pthread || exit 1
exec sh tests/run.sh "$B" $TESTS
