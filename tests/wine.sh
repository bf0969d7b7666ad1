#!/bin/sh
# Builds the tests and examples for Windows with mingw-w64 and runs them under wine:
#     sh tests/wine.sh [name...]        B=dir: where to build; WINEPREFIX=dir: which wine
# One line for each program, then their sum. What passes here has been shown for wine:
# Windows itself differs in places (tests/README.md lists what wine cannot show).
cd "$(dirname "$0")/.." || exit 1
B=${B:-.build}/wine
CC=${MINGW_CC:-$(command -v x86_64-w64-mingw32-gcc-win32 || command -v x86_64-w64-mingw32-gcc)}
WINE=${WINE:-$(command -v wine64 || command -v wine || ls /usr/lib/wine/wine64 2>/dev/null)}
SERVER=$(command -v wineserver || ls /usr/lib/wine/wineserver64 /usr/lib/wine/wineserver 2>/dev/null | head -n 1)
if [ -z "$CC" ] || [ -z "$WINE" ] || [ -z "$SERVER" ]; then
    echo "wine: skipped, needs mingw-w64 and wine (apt-get install gcc-mingw-w64-x86-64-win32 wine64 wine)"
    exit 0
fi
mkdir -p "$B"
export WINEDEBUG=-all
export WINEPREFIX="${WINEPREFIX:-$(cd "$B" && pwd)/prefix}"
if [ ! -f "$WINEPREFIX/system.reg" ]; then
    mkdir -p "$WINEPREFIX"
    timeout 120 "$WINE" wineboot -i >/dev/null 2>&1 </dev/null
fi
# One server for all: begun and ended for each program, it now and then loses one.
"$SERVER" -p 600 >/dev/null 2>&1
WARN="-Wall -Wextra -Wshadow -Wundef -Wno-missing-field-initializers"
LIBS="-static -lws2_32 -lsynchronization -lpthread"

# What is about POSIX or Linux by name: stacks and mmap (explore), the system calls of one
# system (faults, socket_faults, io, net, sockets, streams, fs, process, known_bugs, sim),
# /proc and /tmp (more_io, misuse, corners), inputs of programs that need those (corpus). test_anywhere asks
# the same of sockets, pipes, files and processes in crt's own words.
NOT_HERE=" test_explore test_faults test_syscalls test_socket_faults test_io test_net test_sockets test_streams test_fs test_process
 test_known_bugs test_sim test_more_io test_misuse test_corners test_corpus test_corpus_http test_corpus_redis "
# Examples that end by themselves with 0; the others are only built.
ENDING=" hello local_echo select_timeout producer_consumer philosophers pubsub sleepers worker_pool
 thread_distribution panic_join handle_from_thread echo_throughput game_loop "
names=$*
if [ -z "$names" ]; then
    for f in examples/*.c; do   # foreign_loop: there is no descriptor to poll there
        [ "$f" = examples/foreign_loop.c ] || names="$names $(basename "$f" .c)"
    done
    for f in tests/test_*.c; do
        name=$(basename "$f" .c)
        case " $(echo $NOT_HERE) " in *" $name "*) ;; *) names="$names $name" ;; esac
    done
fi
passed=0; failed=0; begun=$(date +%s)
for name in $names; do
    t0=$(date +%s)
    file=tests/$name.c
    [ -f "$file" ] || file=examples/$name.c
    # shellcheck disable=SC2086   # lists of flags
    if ! "$CC" -std=c11 -D_GNU_SOURCE -O1 -g $WARN ${FLAGS:-} -I. -Itests "$file" -o "$B/$name.exe" $LIBS 2>"$B/$name.log"; then
        printf '%-24s does not compile\n' "$name"
        head -n 5 "$B/$name.log"
        failed=$((failed + 1))
        continue
    fi
    case "$file $(echo $ENDING) " in
    tests/*) ;;
    *" $name "*) ;;
    *) printf '%-24s built\n' "$name"; passed=$((passed + 1)); continue ;;
    esac
    # Into a file: what wine begins in the background keeps a pipe open.
    args=; [ "$name" != echo_throughput ] || args="20 10 2"
    [ "$name" != game_loop ] || args="--headless --frames 300"
    timeout -k 2 "${TEST_TIMEOUT:-180}" "$WINE" "$B/$name.exe" $args >"$B/$name.out" 2>&1 </dev/null; code=$?
    out=$(tr -d '\r' <"$B/$name.out")
    case "$file $code" in
    "examples/$name.c 0") out="1 passed, 0 failed" ;;
    examples/*) out="$out
(exit status $code)
0 passed, 1 failed" ;;
    esac
    line=$(printf '%s\n' "$out" | grep -E '^[0-9]+ passed, [0-9]+ failed$' | tail -n 1)
    p=${line%% passed*}; f=${line#*, }; f=${f%% failed*}
    if [ -z "$line" ]; then p=0; f=1; fi
    printf '%-24s %5s passed %3s failed  %3ds\n' "$name" "$p" "$f" $(($(date +%s) - t0))
    [ "$f" = 0 ] || printf '%s\n' "$out" | tail -n "${LINES_SHOWN:-20}"
    [ ! -s "$B/$name.log" ] || head -n 5 "$B/$name.log"
    passed=$((passed + p)); failed=$((failed + f))
done
# Ctrl-C, as wine hears it: SIGINT.
case " $(echo $names) " in *" graceful_shutdown "*) ctrl_c=1 ;; *) ctrl_c= ;; esac
if [ -n "$ctrl_c" ] && [ -f "$B/graceful_shutdown.exe" ]; then
    timeout -k 2 60 "$WINE" "$B/graceful_shutdown.exe" 50 >"$B/ctrl_c.out" 2>&1 </dev/null &
    waiting=$!
    sleep 10   # what it prints into a file is seen only when it ends
    # The program is a child of timeout.
    for pid in $(ps -o pid= --ppid $waiting); do kill -INT "$pid"; done
    wait $waiting
    if grep -q 'everybody is done' "$B/ctrl_c.out" && grep -q 'Ctrl-C: stopping' "$B/ctrl_c.out"; then
        printf '%-24s %5s passed %3s failed\n' "Ctrl-C" 1 0; passed=$((passed + 1))
    else
        printf '%-24s %5s passed %3s failed\n' "Ctrl-C" 0 1; failed=$((failed + 1)); cat "$B/ctrl_c.out"
    fi
fi
echo "took $(($(date +%s) - begun)) s"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
