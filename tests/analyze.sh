#!/bin/sh
# What compilers and analysers can find without running anything: analyze.sh [fanalyzer|tidy|cppcheck]...
#
#   fanalyzer   gcc -fanalyzer over the implementation (two minutes and 7 GiB)
#   tidy        clang-tidy with the static analyser of clang in it, over the implementation and the examples
#   cppcheck    warnings, performance and portability, likewise
#
# Every finding is mended, or answered in tests/analyze.answers: a line for each, `tool file function check`, under
# the reason that answers it. A finding without an answer fails, and so does an answer to nothing.
cd "$(dirname "$0")/.." || exit 1
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
answers=tests/analyze.answers
have() { command -v "$1" >/dev/null 2>&1 || { echo "skipped: $1 is missing (apt-get install $2)" >&2; return 1; }; }
printf '#define _GNU_SOURCE\n#define CRT_IMPLEMENTATION\n#include "crt.h"\n' >"$tmp/impl.c"
# The examples without the implementation, which is looked at once.
mkdir "$tmp/examples"
for f in examples/*.c; do sed 's/^#define CRT_IMPLEMENTATION.*//' "$f" >"$tmp/$f"; done

# Which checks, and why the others of their families are not asked:
#   easily-swappable-parameters, assignment-in-if, magic numbers   matters of taste
#   reserved-identifier, dcl37-c, dcl51-cpp    names with __ inside are reserved in C++ only, and crt__ is the
#                                              project's mark of what is private
#   misc-no-recursion     a wake-up may end a task, whose end wakes another: bounded, and by design
#   misc-include-cleaner, header rules, cert-err* of C++   for other kinds of project
#   DeprecatedOrUnsafeBufferHandling   asks for memcpy_s and the like, which no C library here has
#   no-int-to-ptr         the tagged words of a lock-free structure are integers
#   cert-err33-c          the results of printf and snprintf, which nobody needs; what may fail and matters is
#                         declared warn_unused_result, and gcc looks
#   vfork                 a child that only calls execve, before which no memory is copied: that is why
CHECKS='-*,bugprone-*,cert-*,clang-analyzer-*,concurrency-*,misc-*,performance-*,portability-*'
CHECKS="$CHECKS,-bugprone-easily-swappable-parameters,-bugprone-assignment-in-if-condition,-bugprone-reserved-identifier"
CHECKS="$CHECKS,-cert-dcl37-c,-cert-dcl51-cpp,-cert-err33-c,-misc-no-recursion,-misc-include-cleaner,-performance-no-int-to-ptr"
CHECKS="$CHECKS,-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling,-clang-analyzer-security.insecureAPI.vfork"

# An analyser that does not come to its end finds nothing, which must not look like an answer.
broke() { echo "analyze: $1 failed:" >&2; tail -n 5 "$2" >&2; broken=1; }
# Findings as "tool file line check message". Status 1: the tool is missing.
run_fanalyzer() {
    have gcc gcc || return
    gcc -std=c11 -O1 -fanalyzer -I. -c "$tmp/impl.c" -o "$tmp/impl.o" 2>"$tmp/log" ||
        broke "gcc -fanalyzer" "$tmp/log"
    sed -n 's/^\(.*\/\)\{0,1\}\([^:/]*\):\([0-9]*\):[0-9]*: warning: \(.*\) \[.*-W\(analyzer[^],]*\)\]$/fanalyzer \2 \3 \5 \4/p' "$tmp/log"
}
run_tidy() {
    have clang-tidy clang-tidy || return
    cp crt.h crt_platform_*.h "$tmp/"   # the examples' ../crt.h; cppcheck does without, as it cannot read the macros
    : >"$tmp/log"
    for f in "$tmp/impl.c" "$tmp"/examples/*.c; do
        clang-tidy -quiet --checks="$CHECKS" --header-filter='crt.*' "$f" -- -std=c11 -D_GNU_SOURCE -I. 2>"$tmp/said" >>"$tmp/log" ||
            { cat "$tmp/said" >>"$tmp/log"; broke "clang-tidy of ${f##*/}" "$tmp/log"; }
    done
    rm "$tmp"/crt*.h
    sed -n 's/^\(.*\/\)\{0,1\}\([^:/]*\):\([0-9]*\):[0-9]*: warning: \(.*\) \[\([^],]*\).*\]$/tidy \2 \3 \5 \4/p' "$tmp/log" | sort -u
}
run_cppcheck() {
    have cppcheck cppcheck || return
    known="-D__linux__ -D__x86_64__ -D__GNUC__=12 -D_GNU_SOURCE -DUINTPTR_MAX=0xffffffffffffffff -DINT_MAX=0x7fffffff"
    cppcheck --enable=warning,performance,portability --std=c11 --language=c --quiet --inline-suppr $known -DCRT_IMPLEMENTATION -I. \
        --template='{file}:{line}:0: {id}: {message}' crt.h 2>"$tmp/log" || broke "cppcheck of crt.h" "$tmp/log"
    for f in "$tmp"/examples/*.c; do
        cppcheck --enable=warning,performance,portability --std=c11 --quiet $known -I. --template='{file}:{line}:0: {id}: {message}' \
            "$f" 2>>"$tmp/log" || broke "cppcheck of ${f##*/}" "$tmp/log"
    done
    sed -n 's/^\(.*\/\)\{0,1\}\([^:/]*\):\([0-9]*\):0: \([^:]*\): \(.*\)$/cppcheck \2 \3 \4 \5/p' "$tmp/log" | sort -u
}

tools=; broken=0
: >"$tmp/found"
for tool in ${*:-fanalyzer tidy cppcheck}; do
    case $tool in fanalyzer|tidy|cppcheck) ;; *) echo "analyze: there is no $tool" >&2; exit 2 ;; esac
    if "run_$tool" >>"$tmp/found"; then tools="$tools $tool"; fi   # those that are there
done
# The function that a line is in: the last line before it that begins one.
while read -r tool file line check message; do
    path=$file
    [ -f "$path" ] || path=examples/$file
    function=$(awk -v n="$line" 'NR > n { exit } /^[A-Za-z].*[a-z_0-9]+\(/ && !/;$/ { s = $0; sub(/\(.*/, "", s); sub(/.*[ *]/, "", s); f = s }
                                 /^#define [a-zA-Z_]+/ { f = $2; sub(/\(.*/, "", f) } END { print f ? f : "-" }' "$path")
    echo "$tool $file $function $check|$line|$message"
done <"$tmp/found" >"$tmp/named"
new=0; answered=0; stale=0
while IFS='|' read -r key line message; do
    if grep -qxF "$key" "$answers"; then answered=$((answered + 1))
    else new=$((new + 1)); set -- $key; echo "$2:$line: $3: $message [$1 $4]"; fi
done <"$tmp/named"
for tool in $tools; do
    grep "^$tool " "$answers" | while read -r key; do
        grep -qF "$key|" "$tmp/named" || echo "analyze.answers: nothing says so any more: $key"
    done
done >"$tmp/stale"
cat "$tmp/stale"
stale=$(wc -l <"$tmp/stale")
echo "analyze: $(wc -l <"$tmp/named") findings, $answered answered, $new new, $stale answers to nothing"
[ "$new" = 0 ] && [ "$stale" = 0 ] && [ $broken = 0 ]
