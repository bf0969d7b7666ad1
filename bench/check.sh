#!/bin/sh
# Compares what crt's operations cost, counted in instructions, system calls and allocations, with the numbers kept in
# baseline/, and fails if one is more than 3 % worse or was not counted. UPDATE=1 writes the baseline instead.
#
#   bench/check.sh [WORKLOAD...]     all of them, or only these
#
# Environment: CC, CFLAGS, BUILD, UPDATE.
# shellcheck disable=SC2086
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/build.sh"
. "$here/counts.sh"

compile bench_core bench_core.c -g || { note "bench_core.c does not build, see $log"; exit 1; }
compile loadgen loadgen.c || { note "loadgen.c does not build, see $log"; exit 1; }
build_counter
find_tools
[ -n "$tools" ] || { note "skipped: nothing to count with"; exit 0; }

# Instructions are those of one compiler on one kind of processor; the rest is the same everywhere.
compiler=$(printf '#ifdef __clang__\nclang __clang_major__ __clang_minor__ __clang_patchlevel__\n#else\ngcc __GNUC__ __GNUC_MINOR__ __GNUC_PATCHLEVEL__\n#endif\n' |
    $CC -E -P - | awk 'NF { print $1 "-" $2 "." $3 "." $4 }')-$(uname -m)
[ "$CFLAGS" = "$default_cflags" ] || compiler=$compiler-other-flags
base=$here/baseline/$compiler.tsv
if [ ! -f "$base" ] && [ -z "${UPDATE:-}" ]; then
    for base in "$here"/baseline/*.tsv; do :; done
    [ -f "$base" ] || { note "skipped: no baseline yet; make bench-check UPDATE=1 writes one"; exit 0; }
    note "no baseline for $compiler: system calls and allocations are compared with those of ${base##*/}, instructions are not"
    kept=
    for tool in $tools; do [ $tool = instructions ] || kept="$kept $tool"; done
    tools=$kept
    [ -n "$tools" ] || { note "skipped: nothing but instructions to count"; exit 0; }
fi

now=$BUILD/counts.tsv
printf '# %s; per operation: workload, what, count\n' "$compiler" >"$now"
count_cases | while read -r one; do
    case $one in *conns=50*) continue ;; esac   # how many are ready at once is up to the machine
    case " $* " in "  " | *" ${one%% *} "*) ;; *) continue ;; esac
    for tool in $tools; do
        case $one$tool in *' mt1 '*instructions) continue ;; esac   # two threads: they wobble by 3 %
        got=$(count_per_op $tool crt $one </dev/null)
        if [ -n "$got" ]; then printf '%s\t%s\t%s\n' "$one" $tool "$got" >>"$now"
        else note "$one: $tool were not counted, see $log"; fi
    done
done

if [ -n "${UPDATE:-}" ]; then
    [ $# -eq 0 ] || { note "a baseline holds all workloads"; exit 2; }
    mkdir -p "$here/baseline" && cp "$now" "$base" && note "written to $base"
    exit
fi

awk -F'\t' -v base="${base##*/}" -v asked="$*" -v tools="$tools" '
    # Whether this run was to count it.
    function wanted(workload, tool) {
        sub(/ .*/, "", workload)
        return index(" " tools " ", " " tool " ") && (asked == "" || index(" " asked " ", " " workload " "))
    }
    /^#/ { next }
    NR == FNR { was[$1, $2] = $3; if (wanted($1, $2)) missing[$1, $2] = $1 ": " $2; next }
    { delete missing[$1, $2] }
    !(($1, $2) in was) { printf "new      %s: %s %s\n", $1, $3, $2; next }
    {
        old = was[$1, $2]
        # The last term: what a rounding or a page of memory more makes of a number that is almost 0.
        slack = $2 == "instructions" ? 0.5 : 0.005
        text = sprintf("%s: %s %s, was %s (%+.1f %%)", $1, $3, $2, old, old > 0 ? ($3 / old - 1) * 100 : 0)
        if ($3 > old * 1.03 + slack) { print "WORSE    " text; worse++ }
        else if ($3 < old * 0.97 - slack) { print "better   " text; better++ }
        n++
    }
    END {
        for (key in missing) { print "VANISHED " missing[key] " were not counted"; vanished++ }
        printf "bench-check: %d counts compared with baseline/%s, %d worse, %d better, %d vanished\n",
            n, base, worse, better, vanished
        if (!n) print "Nothing was compared: is there no such workload?"
        if (worse) print "To see where: callgrind_annotate bench/build/callgrind.out after bench/check.sh WORKLOAD."
        if (worse || better) print "To keep the new numbers: make bench-check UPDATE=1, and commit bench/baseline."
        exit worse > 0 || vanished > 0 || !n
    }' "$base" "$now"
