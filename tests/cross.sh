#!/bin/sh
# crt with other compilers, C libraries and processors, on Linux. One line for each row,
# then their sum: "N passed, N failed". What is missing is skipped with a line that says so.
#
#   sh tests/cross.sh                       every row
#   ONLY="musl m32 s390x" sh tests/cross.sh these
#   QUICK=1 sh tests/cross.sh               a few rows with a few programs
#   TESTS="test_io test_net" ONLY=armhf sh tests/cross.sh
#   B=dir: where to build; JOBS=n: compilers at a time; RUN="nice -n 19": in front of each
# tests/README.md says what each row shows and what to install. Programs are kept and built
# again when a source is newer; a row's output is in $B/ROW.log.
cd "$(dirname "$0")/.." || exit 1
B=${B:-.build}/cross
JOBS=${JOBS:-2}
passed=0; failed=0; skipped=0; begun=$(date +%s)
mkdir -p "$B"
WARN="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wimplicit-fallthrough -Wundef"
C_WARN="$WARN -Wstrict-prototypes"
TEST_WARN="-D_GNU_SOURCE -Wall -Wextra -Wshadow -Wno-missing-field-initializers"

# Programs. The models and the explorer's own test run the same schedules everywhere, and
# test_header reads text: they are left to make test. FEW: some of each part of crt.
ALL=$(ls tests/test_*.c | sed 's,.*/,,; s,\.c$,,' | grep -v -e test_explore -e test_header | tr '\n' ' ')
FEW="test_smoke test_coroutine test_task test_scheduler test_blocking test_combine test_mpsc test_locks
 test_wheel test_time test_streams test_sockets test_fs test_process test_anywhere"
HANDFUL="test_smoke test_task test_mpsc test_time test_sockets test_fs"
if [ -n "$TESTS" ]; then ALL=$TESTS; FEW=$TESTS; HANDFUL=$TESTS
elif [ -n "$QUICK" ]; then   # test_sockets takes half a minute under qemu
    HANDFUL="test_smoke test_task test_mpsc test_time test_net test_fs"; ALL=$HANDFUL; FEW=$HANDFUL
fi
ROWS="gcc-old gcc clang-old clang musl m32 m32-clang tcc c11 c17 c2x gnu11 ms-extensions c++17 c++20
 O0 O2 O3-lto Os static two-units everything mingw aarch64 armhf riscv64 ppc64el s390x kqueue macos wine bare"
[ -z "$QUICK" ] || ROWS="musl m32 tcc c++20 static two-units everything aarch64 s390x"
ROWS=${ONLY:-$ROWS}

# What qemu-user (7.2) cannot carry: program and test. That it fails there does not count.
#   multicast: it knows no MCAST_JOIN_GROUP, nor IP_MULTICAST_IF (ENOPROTOOPT)
QEMU_EXEMPT="test_sockets multicast"

# ---- rows

now() { date +%s; }
# have ROW PACKAGE COMMAND...: every command is there, or the row is skipped
have()
{
    have_row=$1 have_package=$2; shift 2
    for command in "$@"; do
        command -v "$command" >/dev/null && continue
        skip "$have_row" "$command is missing (apt-get install $have_package)"
        return 1
    done
}
skip() { printf '%-14s skipped: %s\n' "$1" "$2"; skipped=$((skipped + 1)); }
first() { for c in "$@"; do command -v "$c" >/dev/null && { echo "$c"; return; }; done; echo "$1"; }
CLANG=$(first clang-22 clang-19 clang-18 clang-17 clang-16 clang)   # the newest
CLANGXX=$(first clang++-22 clang++-19 clang++-18 clang++-17 clang++-16 clang++)

# begin ROW; then accepts and programs count for it; then end.
begin() { row=$1; row_passed=0; row_failed=0; row_exempt=0; row_again=0; row_begun=$(now); : >"$B/$row.log"; mkdir -p "$B/$row"; }
# accepts COMMAND...: it has to succeed and to say nothing
accepts()
{
    if $RUN timeout 300 "$@" >"$B/$row/said" 2>&1 && [ ! -s "$B/$row/said" ]; then
        row_passed=$((row_passed + 1))
    else
        row_failed=$((row_failed + 1))
        { echo "FAILED $*"; head -n 20 "$B/$row/said"; } >>"$B/$row.log"
    fi
}
end()   # end WHAT: what the row held, in a few words
{
    passed=$((passed + row_passed)); failed=$((failed + row_failed))
    note=; [ $row_exempt -eq 0 ] || note=", $row_exempt exempt"
    [ $row_again -eq 0 ] || note="$note, $row_again programs ran twice"
    printf '%-14s %5d passed, %d failed%s   (%s; %d s)\n' "$row" $row_passed $row_failed "$note" "$1" $(($(now) - row_begun))
    [ $row_failed -eq 0 ] || { grep -v ' 0 failed' "$B/$row.log" | head -n 30; echo "  all of it: $B/$row.log; again: ONLY=$row sh tests/cross.sh"; }
}

# What the shell of xargs does for one program: builds it, if it is not newer than its sources.
cat >"$B/one.sh" <<'ONE'
dir=$1 program=$2; shift 2
src=tests/$program.c; [ -f "$src" ] || src=examples/$program.c
[ -z "$(find "$dir/$program" -newer crt.h -newer crt_platform_epoll.h -newer "$src" -newer tests/harness.h -newer tests/cross.sh 2>/dev/null)" ] || exit 0
rm -f "$dir/$program"
$RUN timeout 600 "$@" -I. -Itests "$src" -o "$dir/$program" -pthread >"$dir/$program.err" 2>&1
exit 0
ONE
export RUN
# programs "COMPILER FLAGS" RUNNER PROGRAM...: builds them and runs one after the other.
# With a runner (qemu) each gets a script of its name in front of it, for tests that start
# themselves; they are told that name. A test has ten minutes then instead of one before it is
# said to hang, and test_sim gets fewer worlds.
programs()
{
    compiler=$1 runner=$2; shift 2
    mkdir -p "$B/$row/bin"
    # shellcheck disable=SC2086   # lists of flags
    printf '%s\n' "$@" | xargs -P "$JOBS" -I{} sh "$B/one.sh" "$B/$row/bin" {} $compiler
    for program in "$@"; do
        target=$PWD/$B/$row/bin/$program
        case $B in /*) target=$B/$row/bin/$program ;; esac
        if [ ! -x "$target" ]; then
            row_failed=$((row_failed + 1))
            { echo "FAILED $program does not compile"; head -n 10 "$target.err"; } >>"$B/$row.log"
            continue
        fi
        if [ -n "$runner" ]; then
            printf '#!/bin/sh\nTEST_SELF="$0" TEST_SLOW=1 SEEDS=100; export TEST_SELF TEST_SLOW SEEDS\nexec %s -0 "$0" %s "$@"\n' "$runner" "$target" >"$target.sh"
            chmod +x "$target.sh"
            target=$target.sh
        fi
        attempt
        # Some promises are of real time, which an emulator on a busy machine may break: once
        # more, and then they have to hold. The row says how often that was.
        if [ "$f" != 0 ]; then
            printf '%s\n' "$program, the first time:" "$out" | tail -n 40 >>"$B/$row.log"
            row_again=$((row_again + 1))
            attempt
        fi
        row_exempt=$((row_exempt + excused))
        row_passed=$((row_passed + p)); row_failed=$((row_failed + f))
        printf '%-24s %5s passed %3s failed\n' "$program" "$p" "$f" >>"$B/$row.log"
        [ "$f" = 0 ] || printf '%s\n' "$out" | tail -n 40 >>"$B/$row.log"
    done
}
# Runs $target: p passed, f failed, and $excused that failed under qemu ($runner) and are exempt.
attempt()
{
    limit=180; [ -z "$runner" ] || limit=600
    # Into a file: a pipe would be waited for until the last child that a broken test left has ended.
    $RUN timeout "${TEST_TIMEOUT:-$limit}" "$target" >"$B/$row/out" 2>&1 </dev/null; code=$?
    out=$(cat "$B/$row/out")
    [ $code -ne 124 ] || out="$out
(ended by timeout)"
    excused=0 line=
    case $program in
    test_*)
        line=$(printf '%s\n' "$out" | grep -E '^[0-9]+ passed, [0-9]+ failed$' | tail -n 1)
        p=${line%% passed*}; f=${line#*, }; f=${f%% failed*}
        [ -n "$line" ] || { p=0; f=1; }
        [ $code -eq 0 ] || [ "$f" != 0 ] || f=1 ;;
    *) p=0; f=1; [ $code -ne 0 ] || { p=1; f=0; } ;;
    esac
    # Only of a program that came to its end: one that crashed or hangs may have failed in something else as well.
    [ "$f" = 0 ] || [ -z "$runner" ] || [ -z "$line" ] || [ $code -ne 1 ] || {
        excused=$(printf '%s\n' "$out" | sed -n 's/^FAILED \([a-z0-9_]*\).*/\1/p' |
            while read -r name; do printf '%s\n' "$QEMU_EXEMPT" | grep -q -x -e "$program $name" && echo "$name"; done | wc -l)
        [ "$excused" -le "$f" ] || excused=0
        f=$((f - excused))
    }
}
count() { echo $#; }
# suite ROW PACKAGE COMPILER "FLAGS" "RUNNER" PROGRAM...: a row of test programs
suite()
{
    s_row=$1 s_package=$2 s_cc=$3 s_flags=$4 s_runner=$5; shift 5
    # shellcheck disable=SC2086   # a runner is one word or none
    have "$s_row" "$s_package" "$s_cc" $s_runner || return 0
    begin "$s_row"
    programs "$s_cc -std=c11 $TEST_WARN $s_flags" "$s_runner" "$@"
    end "$s_cc $s_flags, $# programs"
}

# ---- sources of their own

printf '#include "crt.h"\n' >"$B/public.c"
printf '#define CRT_IMPLEMENTATION\n#include "crt.h"\n' >"$B/impl.c"
# A file that only includes crt.h, and one that implements it: tasks of the one are run by
# the other.
cat >"$B/unit.c" <<'END'
#include "crt.h"
typedef struct child { crt_frame co; int n; } child;
crt_poll child_run(void *frame, crt_cx *cx);
crt_poll child_run(void *frame, crt_cx *cx)
{
    child *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_US(self->n)));
    CRT_RETURN(self->n);
    CRT_END;
}
END
cat >"$B/main.c" <<'END'
#define CRT_IMPLEMENTATION
#include "crt.h"
typedef struct child { crt_frame co; int n; } child;
#ifdef CRT_STATIC
static
#endif
crt_poll child_run(void *frame, crt_cx *cx);
typedef struct root {
    crt_frame co;
    CRT_SELECT(2) sel;
    child a;
    crt_join_handle *join;
    intptr_t result;
    crt_poll r;
} root;
static crt_poll root_run(void *frame, crt_cx *cx)
{
    root *self = frame;
    CRT_BEGIN(self, cx);
    self->a.n = 700;
    CRT_AWAIT(self->r = crt_select(cx, &self->sel, crt_on(cx, 0, crt_sleep(cx, CRT_SEC(9))),
                                   crt_on(cx, 1, child_run(&self->a, cx))));
    if (self->r != 1) CRT_RETURN(1);
    if (crt_spawn_join(cx, &self->join, child_run, &(child){.n = 42})) CRT_RETURN(2);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    CRT_RETURN(self->r == 0 && self->result == 42 ? 0 : 3);
    CRT_END;
}
CRT_MAIN(root_run, root)
END
{ echo '#define CRT_STATIC'; cat "$B/main.c"; sed '/include/d; /^typedef struct child/d; /^crt_poll child_run.*;/d; s/^crt_poll/static crt_poll/' "$B/unit.c"; } >"$B/static.c"

# halves CC FLAGS...: both halves of crt.h and a user's file, silent under every flag
halves()
{
    cc=$1; shift
    for f in public impl unit; do
        accepts "$cc" "$@" $C_WARN -I. -c "$B/$f.c" -o "$B/$row/$f.o"
    done
}

for row_name in $ROWS; do
    case $row_name in
    gcc-old)    # shellcheck disable=SC2086
        suite gcc-old gcc-11 gcc-11 -O0 "" $ALL ;;
    gcc)        suite gcc gcc gcc -O2 "" $FEW ;;
    clang-old)  suite clang-old clang-13 clang-13 -O0 "" $FEW ;;
    clang)      suite clang clang-22 "$CLANG" -O1 "" $ALL ;;
    musl)       suite musl musl-tools musl-gcc "-O0 -static" "" $ALL ;;
    m32|m32-clang)   # gcc-12-multilib, because gcc-multilib and the compilers for other processors exclude each other
        echo 'int main(void) { return 0; }' >"$B/probe.c"
        cc=gcc; [ $row_name = m32 ] || cc=$CLANG
        have "$row_name" "$cc" "$cc" || continue
        flags="-m32 -isystem /usr/include/$(gcc -print-multiarch 2>/dev/null || echo x86_64-linux-gnu)"
        # shellcheck disable=SC2086
        if ! $cc $flags "$B/probe.c" -o "$B/probe" 2>/dev/null || ! "$B/probe"; then
            skip "$row_name" "no C library of 32 bits (apt-get install gcc-12-multilib)"
        elif [ $row_name = m32 ]; then
            # shellcheck disable=SC2086
            suite m32 gcc gcc "-O0 -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 $flags" "" $ALL
        else   # clang says where 64 bits that threads share lie at a multiple of 4
            begin m32-clang
            halves "$CLANG" -std=c11 $flags -O0
            # shellcheck disable=SC2086
            halves gcc -std=c11 $flags -O1
            programs "$CLANG -std=c11 $TEST_WARN -O0 -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 $flags" "" $HANDFUL   # halves uses cc
            end "$CLANG -m32: both halves silent, $(count $HANDFUL) programs"
        fi ;;
    tcc)
        have tcc tcc tcc || continue
        begin tcc
        for f in public unit impl; do accepts tcc -std=c11 -Wall -I. -c "$B/$f.c" -o "$B/$row/$f.o"; done
        # The tests' own atomics are gcc's: for tcc, crt's, where a test needs none before crt.h.
        TCC=$(printf '%s\n' $FEW test_signal test_runtime | grep -v -e test_mpsc -e test_streams | sort -u)
        [ -z "$QUICK$TESTS" ] || TCC="test_smoke test_task"
        # shellcheck disable=SC2086
        [ "$(uname -m)" != x86_64 ] || programs "tcc -std=c11 -w -D_GNU_SOURCE -include tests/tcc_atomics.h" "" \
            hello local_echo select_timeout producer_consumer philosophers pubsub $TCC
        end "both halves, 6 examples, $(count $TCC) programs" ;;
    c11|c17|c2x|gnu11)
        begin $row_name
        for cc in gcc "$CLANG"; do
            command -v "$cc" >/dev/null || continue
            halves "$cc" -std=$row_name -O0
        done
        programs "gcc -std=$row_name $TEST_WARN -O0" "" test_smoke test_coroutine
        end "gcc and clang: both halves silent; 2 programs" ;;
    ms-extensions)
        cc=$CLANG
        have ms-extensions clang-22 "$cc" || continue
        begin ms-extensions
        halves "$cc" -std=c11 -fms-extensions -O0
        halves "$cc" -std=c11 -fms-extensions -O0 -DCRT_USE_COUNTER
        programs "$cc -std=c11 -fms-extensions $TEST_WARN -O0" "" test_smoke test_coroutine
        end "$cc -fms-extensions: both halves silent, 2 programs" ;;
    c++17|c++20)
        begin "$row_name"
        accepts gcc -std=c11 -O0 -I. -c "$B/impl.c" -o "$B/$row/impl.o"
        for cxx in g++ clang++-13 "$CLANGXX"; do
            command -v "$cxx" >/dev/null || continue
            for o in -O0 -O2; do
                accepts "$cxx" -std=$row_name $WARN $o -I. -c tests/cpp_compile.cc -o "$B/$row/cpp.o"
                accepts "$cxx" "$B/$row/cpp.o" "$B/$row/impl.o" -o "$B/$row/cpp" -pthread
                accepts "$B/$row/cpp"
            done
            accepts "$cxx" -std=$row_name $WARN -DCRT_USE_COUNTER -I. -c tests/cpp_compile.cc -o "$B/$row/cpp.o"
        done
        end "declarations and coroutines, g++ and clang++, run with an implementation in C" ;;
    O0)     suite O0 gcc gcc -O0 "" $FEW ;;
    O2)     suite O2 clang-22 "$CLANG" -O2 "" $FEW ;;
    O3-lto) suite O3-lto gcc gcc "-O3 -flto=1" "" $FEW ;;
    Os)     suite Os gcc gcc -Os "" $FEW ;;
    static)   # everything in one file, nothing of it to be seen by others
        begin static
        for cc in gcc "$CLANG"; do
            command -v "$cc" >/dev/null || continue
            accepts "$cc" -std=c11 $C_WARN -O1 -I. "$B/static.c" -o "$B/$row/static" -pthread
            accepts "$B/$row/static"
            accepts sh -c "! nm -g --defined-only '$B/$row/static' | grep crt_"
        done
        end "CRT_STATIC: silent, runs, no symbol of crt" ;;
    two-units)
        begin two-units
        for cc in gcc "$CLANG"; do
            command -v "$cc" >/dev/null || continue
            accepts "$cc" -std=c11 $C_WARN -O1 -I. "$B/main.c" "$B/unit.c" -o "$B/$row/two" -pthread
            accepts "$B/$row/two"
        done
        end "one file implements crt.h, another includes it" ;;
    everything)
        cc=$CLANG
        have everything clang-22 "$cc" || continue
        begin everything
        # Of clang's every warning, without those that are
        #   about another language: c++98-compat, pre-c11-compat, declaration-after-statement (C90), and what the
        #   implementation, which is C, may do and C++ may not: implicit-void-ptr-cast,
        #   tentative-definition-compat, default-const-init-var (clang 22 knows these three)
        #   taste: padded, comma, extra-semi-stmt (the user's own ";" after CRT_BEGIN)
        #   about any pointer with an index at all: unsafe-buffer-usage (C++'s containers instead)
        #   about system headers and what they define: disabled-macro-expansion,
        #   incompatible-function-pointer-types-strict (glibc's union in getpeername), used-but-marked-unused
        #   (__attribute__((unused)) says "may be unused") and reserved-identifier
        #   about the log's printf-like functions, which are checked where they are called: format-nonliteral
        # shellcheck disable=SC2046
        set -- $(printf -- '-Wno-%s ' c++98-compat pre-c11-compat declaration-after-statement padded comma \
            extra-semi-stmt unsafe-buffer-usage disabled-macro-expansion incompatible-function-pointer-types-strict \
            used-but-marked-unused reserved-identifier format-nonliteral \
            implicit-void-ptr-cast tentative-definition-compat default-const-init-var)
        for option in -DCRT_PLAIN -DCRT_DEBUG -DCRT_USE_COUNTER; do
            for f in public impl unit; do accepts "$cc" -std=c11 -Weverything -Wno-unknown-warning-option "$@" $option -O0 -I. -c "$B/$f.c" -o "$B/$row/$f.o"; done
        done
        end "$cc -Weverything without $# of them" ;;
    mingw)   # built and linked; the row wine runs it
        cc=$(first x86_64-w64-mingw32-gcc-win32 x86_64-w64-mingw32-gcc)
        have mingw gcc-mingw-w64-x86-64-win32 "$cc" || continue
        begin mingw
        for std in c11 c17 c2x; do halves "$cc" -std=$std -O0; done
        halves "$cc" -std=c11 -O2 -DCRT_USE_COUNTER
        accepts "$cc" -std=c11 $C_WARN -O1 -I. "$B/main.c" "$B/unit.c" -o "$B/$row/two.exe" -lws2_32 -lsynchronization
        accepts "$cc" -std=c11 $C_WARN -O1 -I. "$B/static.c" -o "$B/$row/static.exe" -lws2_32 -lsynchronization
        end "$cc: both halves silent, two units and CRT_STATIC linked" ;;
    aarch64|armhf|riscv64|ppc64el|s390x)
        case $row_name in
        aarch64) triple=aarch64-linux-gnu qemu=aarch64 ;;
        armhf)   triple=arm-linux-gnueabihf qemu=arm ;;
        riscv64) triple=riscv64-linux-gnu qemu=riscv64 ;;
        ppc64el) triple=powerpc64le-linux-gnu qemu=ppc64le ;;
        s390x)   triple=s390x-linux-gnu qemu=s390x ;;
        esac
        o=-O0; [ $row_name != aarch64 ] || o=-O1
        wide=; [ $row_name != armhf ] || wide="-D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64"
        have $row_name "gcc-$triple libc6-dev-$(echo $row_name)-cross qemu-user-static" $triple-gcc qemu-$qemu-static || continue
        begin $row_name
        halves $triple-gcc -std=c11 $o
        programs "$triple-gcc -std=c11 $TEST_WARN $o -static $wide" qemu-$qemu-static $ALL
        end "both halves silent; $o, $(count $ALL) programs under qemu-$qemu" ;;
    kqueue|macos|wine|bare)
        if [ ! -f tests/$row_name.sh ]; then skip $row_name "tests/$row_name.sh is not there"; continue; fi
        begin $row_name
        # ONLY, here a list of rows, means something else to macos.sh; bare.sh and wine.sh add their names to B themselves.
        there=$B; case $row_name in kqueue|macos) there=$B/$row_name ;; esac
        (unset ONLY; B=$there; export B; $RUN sh tests/$row_name.sh) >"$B/$row.log" 2>&1; code=$?
        line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$B/$row.log" | tail -n 1)
        if [ -z "$line" ] && [ $code -eq 0 ]; then skip $row_name "$(tail -n 1 "$B/$row.log")"; continue; fi
        row_passed=${line%% passed*}; row_failed=${line#*, }; row_failed=${row_failed%% failed*}
        [ -n "$line" ] || { row_passed=0; row_failed=1; }
        end "tests/$row_name.sh" ;;
    *)  skip "$row_name" "there is no such row"; failed=$((failed + 1)) ;;
    esac
done
echo "took $(($(now) - begun)) s; $skipped rows skipped"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
