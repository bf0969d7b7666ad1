#!/bin/sh
# Builds the tests and examples for Windows with mingw-w64 and runs them under wine:
#     sh tests/wine.sh [name...]        B=dir: where to build; WINEPREFIX=dir: which wine
#     QUICK=1 sh tests/wine.sh          the part that a change to the Windows header may break
#     LANES=1 sh tests/wine.sh          one program at a time (2): most of them wait more than they work
# One line for each program, then their sum; while some run, the next is built. What passes
# here has been shown for wine: Windows itself differs in places (tests/README.md lists
# what wine cannot show). The servers among the examples are driven from this side by curl
# and by echo_load: what wine's programs listen on are sockets of this system.
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
export SEEDS="${SEEDS:-200}"   # of test_programs
export WINEPREFIX="${WINEPREFIX:-$(cd "$B" && pwd)/prefix}"
if [ ! -f "$WINEPREFIX/system.reg" ]; then
    mkdir -p "$WINEPREFIX"
    timeout 120 "$WINE" wineboot -i >/dev/null 2>&1 </dev/null
fi
# One server for all: begun and ended for each program, it now and then loses one.
"$SERVER" -p 600 >/dev/null 2>&1
WARN="-Wall -Wextra -Wshadow -Wundef -Wno-missing-field-initializers"
LIBS="-static -lws2_32 -lsynchronization -lpthread"

# The tests find sockets, pipes and counts of files as anywhere: tests/win_shim. Left out:
#   explore (stacks by mmap); syscalls, socket_faults (wrap the system calls of Linux); sim (its kernel is the
#   one under the epoll header: descriptors, edges and the calls of POSIX sockets, for which the Windows
#   header has none of its own names); system (all of it disturbs a child by fork, SIGSTOP, sigaction);
#   null (fork); abroad (a program by name); interrupts (a machine of its own, with no system under it);
#   scenes (link-local addresses, programs by name).
NOT_HERE=" test_explore test_syscalls test_socket_faults test_sim test_system test_null test_abroad
 test_interrupts test_scenes "
# With QUICK: what goes through the platform header, and few of the rest.
QUICK_ONES=" hello game_loop echo_server http_server graceful_shutdown test_anywhere test_io test_sockets test_streams
 test_more_io test_fs test_process test_signal test_blocking test_regressions test_smoke test_header "
# Once more with crt.h as MSVC reads it (win_shim/msvc_view.h): NAME_msvc.
AS_MSVC=" test_smoke_msvc test_coroutine_msvc test_task_msvc test_scheduler_msvc test_channels_msvc test_locks_msvc
 test_time_msvc test_io_msvc test_fs_msvc test_process_msvc "
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
    names="$names $AS_MSVC"
    [ -z "${QUICK:-}" ] || names="$QUICK_ONES test_smoke_msvc"
fi
file_of() { if [ -f "tests/${1%_msvc}.c" ]; then echo "tests/${1%_msvc}.c"; else echo "examples/$1.c"; fi; }
view_of() { case $1 in *_msvc) echo "-include tests/win_shim/msvc_view.h -Wno-unknown-pragmas -Wno-unused" ;; esac; }
asked() { case " $(echo $names) " in *" $1 "*) ;; *) return 1 ;; esac; }
# Builds all of them in order; NAME.built tells that NAME is through, with 0 or not.
build_all() {
    for name in $names; do
        # shellcheck disable=SC2086   # lists of flags
        "$CC" -std=c11 -D_GNU_SOURCE ${OPT:--O0} $WARN ${FLAGS:-} -DWINE -I. -Itests -Itests/win_shim $(view_of "$name") "$(file_of "$name")" -o "$B/$name.exe" $LIBS 2>"$B/$name.log"
        echo $? >"$B/$name.built.part"; mv "$B/$name.built.part" "$B/$name.built"
    done
}
# One line of the table: name, 0 or else, and what to show where it failed.
told() {
    if [ "$2" = 0 ]; then passed=$((passed + 1)); set -- "$1" 1 0; else failed=$((failed + 1)); tail -n 20 "$3"; set -- "$1" 0 1; fi
    printf '%-24s %5s passed %3s failed\n' "$@"
}
# The program itself, a child of timeout, hears Ctrl-C.
interrupt() { for pid in $(ps -o pid= --ppid "$1"); do kill -INT "$pid"; done; }
passed=0; failed=0; begun=$(date +%s)
for name in $names; do rm -f "$B/$name.built" "$B/$name.exe"; done
build_all &
builder=$!
trap 'kill $builder 2>/dev/null' EXIT
# Runs one that has been built; its line, and where it failed what it said.
run_one() {
    name=$1
    t0=$(date +%s)
    file=$(file_of "$name")
    if [ "$(cat "$B/$name.built")" != 0 ]; then
        printf '%-24s     0 passed   1 failed, does not compile\n' "$name"
        head -n 5 "$B/$name.log"
        return
    fi
    case "$file $(echo $ENDING) " in
    tests/*) ;;
    *" $name "*) ;;
    *) printf '%-24s     1 passed   0 failed, built\n' "$name"; return ;;
    esac
    # Into a file: what wine begins in the background keeps a pipe open.
    args=; [ "$name" != echo_throughput ] || args="20 10 2"
    [ "$name" != game_loop ] || args="--headless --frames 300"
    for try in 1 2; do   # wine's server hangs up on a program now and then, before that has begun
        timeout -k 2 "${TEST_TIMEOUT:-300}" "$WINE" "$B/$name.exe" $args >"$B/$name.out" 2>&1 </dev/null; code=$?
        [ $try = 1 ] && head -n 1 "$B/$name.out" | grep -q '^wine client error' || break
        echo "$name: wine lost it; once more"
    done
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
    if [ "$f" = 0 ] && [ $code -ne 0 ]; then   # all passed, and then no clean end
        f=1; out="$out
(exit status $code)"
    fi
    printf '%-24s %5s passed %3s failed  %3ds\n' "$name" "$p" "$f" $(($(date +%s) - t0))
    [ "$f" = 0 ] || printf '%s\n' "$out" | tail -n "${LINES_SHOWN:-20}"
    [ ! -s "$B/$name.log" ] || head -n 5 "$B/$name.log"
}
# As many at once as there are lanes: who ends gives its lane back, through a pipe.
rm -f "$B/lanes"; mkfifo "$B/lanes"
exec 9<>"$B/lanes"
for lane in $(seq "${LANES:-2}"); do echo "$lane" >&9; done
runs=
for name in $names; do
    while [ ! -f "$B/$name.built" ]; do
        kill -0 $builder 2>/dev/null || [ -f "$B/$name.built" ] || { echo "the builder is gone"; exit 1; }
        sleep 0.2
    done
    read -r lane <&9
    { run_one "$name" >"$B/$name.told"; cat "$B/$name.told"; echo "$lane" >&9; } &
    runs="$runs $!"
done
# shellcheck disable=SC2086   # a list
wait $runs
for name in $names; do
    set -- $(sed -n 's/^[^ ]*  *\([0-9]*\) passed  *\([0-9]*\) failed.*/\1 \2/p' "$B/$name.told" | head -n 1) 0 1
    passed=$((passed + $1)); failed=$((failed + $2))
done
wait $builder
# Ctrl-C, as wine hears it: SIGINT.
if asked graceful_shutdown && [ -f "$B/graceful_shutdown.exe" ]; then
    timeout -k 2 60 "$WINE" "$B/graceful_shutdown.exe" 50 >"$B/ctrl_c.out" 2>&1 </dev/null &
    waiting=$!
    sleep 10   # what it prints into a file is seen only when it ends
    interrupt $waiting
    wait $waiting
    grep -q 'everybody is done' "$B/ctrl_c.out" && grep -q 'Ctrl-C: stopping' "$B/ctrl_c.out"
    told "Ctrl-C" $? "$B/ctrl_c.out"
fi
# The servers, each on a port of its own, driven by programs of this system.
port=$((20000 + $$ % 10000))
web=http://127.0.0.1
get() { curl -s --max-time 20 "$@"; }
begins() {   # program, arguments: begins it, waits until it listens (curl's 7: refused)
    said=$B/said
    timeout -k 2 "${TEST_TIMEOUT:-300}" "$WINE" "$@" >"$said" 2>&1 </dev/null &
    server=$!
    tries=100
    until curl -s --max-time 1 "telnet://127.0.0.1:$port" </dev/null >/dev/null 2>&1; [ $? -ne 7 ]; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] && kill -0 $server 2>/dev/null || return 1
        sleep 0.2
    done
}
# Once more where wine lost its own server while it started the program.
serve() { begins "$@" || { grep -q '^wine client error' "$said" && begins "$@"; }; }
# Ctrl-C ends it in good order: exit status 0, and the words with which it ends.
ends() { interrupt $server; wait $server && grep -q "$1" "$said"; }
all=$names
if ! command -v curl >/dev/null; then
    echo "servers: skipped, need curl"
    names=
fi
for flavor in multi_thread current_thread; do
    asked echo_server && [ -f "$B/echo_server.exe" ] || continue
    [ -x "$B/echo_load" ] || ${HOST_CC:-cc} -std=c11 -D_GNU_SOURCE -O1 tests/echo_load.c -o "$B/echo_load" || continue
    port=$((port + 1)); bad=0; : >"$B/load"
    serve "$B/echo_server.exe" $flavor $port 2 && timeout 60 "$B/echo_load" $port 100 20 512 >"$B/load" 2>&1 || bad=1
    ends stopping || { bad=1; cat "$said" >>"$B/load"; }
    told "echo_server: $flavor" $bad "$B/load"
done
for flavor in multi_thread current_thread; do
    asked http_server && [ -f "$B/http_server.exe" ] || continue
    port=$((port + 1)); bad=0; : >"$B/load"
    serve "$B/http_server.exe" $port 2 $flavor || bad=1
    # Each twice over one connection; what is not there; then eight clients at once.
    for path in / /index.html /stats /blocking; do
        get -o /dev/null -o /dev/null -w "$path %{http_code}\n" "$web:$port$path" "$web:$port$path" >>"$B/load" || bad=1
    done
    [ "$(grep -c ' 200$' "$B/load")" = 8 ] || bad=1
    [ "$(get -o /dev/null -w '%{http_code}' "$web:$port/no/such/page")" = 404 ] || bad=1
    loads=
    for i in 1 2 3 4 5 6 7 8; do
        get -o "$B/http.page" -w '%{http_code}\n' "$web:$port/stats?[1-25]" >"$B/load.$i" 2>&1 &
        loads="$loads $!"
    done
    for l in $loads; do wait "$l" || bad=1; done
    [ "$(cat "$B"/load.? | grep -c '^200$')" = 200 ] || { bad=1; sort "$B"/load.? | uniq -c >>"$B/load"; }
    ends 'stopped, .* 0 connections cut off' || { bad=1; cat "$said" >>"$B/load"; }
    told "http_server: $flavor" $bad "$B/load"
done
if asked static_files && [ -f "$B/static_files.exe" ]; then
    port=$((port + 1)); bad=0; : >"$B/load"
    wrong() { bad=1; echo "$*" >>"$B/load"; }
    serve "$B/static_files.exe" . $port || wrong "does not listen"
    get -o "$B/static.page" "$web:$port/crt.h"; cmp -s "$B/static.page" crt.h || wrong "crt.h is another"
    [ "$(get -r 3-6 "$web:$port/crt.h")" = crt. ] || wrong "not the range"
    get "$web:$port/" | grep -q 'href="./crt.h"' || wrong "crt.h is not in the list"
    [ "$(get -o /dev/null -w '%{http_code}' "$web:$port/tests")" = 301 ] || wrong "a directory without its slash"
    for path in /none /.git /..%5cREADME.md /tests%5charness.h /crt.h: /crt.h::%24DATA /C:/ /crt.h. /crt.h%20 /con /tests/../../x; do
        code=$(get -o /dev/null -w '%{http_code}' --path-as-is "$web:$port$path")
        [ "$code" = 404 ] || wrong "$path: $code"
    done
    ends 'stopped, .* 0 connections cut off' || wrong "$(cat "$said")"
    told static_files $bad "$B/load"
fi
# compiled WHAT FLAGS NAME...: those files with these flags, not run.
compiled() {
    what=$1; flags=$2; shift 2
    for name; do file_of "$name"; done |
        # shellcheck disable=SC2086   # lists of flags
        xargs -P "${LANES:-2}" -I FILE "$CC" -std=c11 -D_GNU_SOURCE -fsyntax-only $WARN -Werror -DWINE -I. -Itests \
            -Itests/win_shim $flags FILE >"$B/compiled.log" 2>&1
    told "$what" $? "$B/compiled.log"
}
if [ -z "${QUICK:-}" ]; then
    # shellcheck disable=SC2046,SC2086   # lists of names
    compiled "CRT_USE_COUNTER" -DCRT_USE_COUNTER $(for name in $all; do echo "$name"; done | grep -v '_msvc$')
    # As MSVC reads them with /ZI, where __LINE__ is no constant.
    # shellcheck disable=SC2086
    compiled "MSVC's /ZI" "-DMSVC_ZI $(view_of _msvc)" $AS_MSVC
fi
echo "took $(($(date +%s) - begun)) s"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
