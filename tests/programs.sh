#!/bin/sh
# Random programs at length, and the proof that they can fail.
#   tests/programs.sh [SEEDS]     20000: seeds of the long run; for each planted mistake: 2000
# 1. the long run;
# 2. mistakes in crt.h, planted by sed, are found: it prints in which program, counted from 1. The first is the one that
#    random programs found in crt.h.
# ONLY=text: of the mistakes, those whose name has it, and no long run.
cd "$(dirname "$0")/.." || exit 1
B=${B:-.build}/programs
seeds=${1:-20000}
mkdir -p "$B" || exit 1
passed=0; failed=0
ok() { passed=$((passed + 1)); printf '%s\n' "$1"; }
bad() { failed=$((failed + 1)); printf 'FAILED: %s\n' "$1"; }
build() { # directory, program, flags
    (cd "$1" && ${CC:-cc} -std=c11 -D_GNU_SOURCE -g -w "$3" -I. -Itests tests/test_programs.c -o "$2" -pthread)
}
if [ -z "${ONLY:-}" ]; then
    build . "$B/long" -O2 || exit 1
    begun=$(date +%s)
    if SEEDS=$seeds "$B/long" programs >"$B/log" 2>&1; then ok "$seeds programs in $(($(date +%s) - begun)) s"
    else bad "$(grep -E '^seed|replay' "$B/log" | head -n 5)"; fi
fi

# Each by itself, as many at once as there are processors. One that hangs with threads does so for half a minute.
cores=$(nproc 2>/dev/null || echo 2)
begun=0
rm -rf "$B"/one.*
mistake() { # what it is, sed expression
    mkdir -p "$dir/tests"
    cp crt.h crt_platform_*.h "$dir/"
    cp tests/test_programs.c tests/harness.h "$dir/tests/"
    sed -i "$2" "$dir/crt.h"
    if cmp -s crt.h "$dir/crt.h"; then bad "$1: the mutation does not fit crt.h any more"; return; fi
    build "$dir" planted -O0 || { bad "$1: does not compile"; return; }
    (ulimit -S -t 60; SEEDS=2000 exec timeout 600 "$dir/planted" programs) >"$dir/log" 2>&1
    code=$?
    line=$(sed -n 's/^found in \(program [0-9]*\).*/\1/p' "$dir/log")
    why=$(grep '^seed' "$dir/log" | head -n 1)
    case $code in
    0) bad "$1: not found in 2000 programs" ;;
    1) ok "$1: $line ($why)" ;;
    *) ok "$1: it crashes or hangs (status $code) $(sed -n 's/^hangs: programs//p' "$dir/log")" ;;
    esac
}
plant() {
    case $1 in *"${ONLY:-}"*) ;; *) return ;; esac
    begun=$((begun + 1))
    dir=$B/one.$(printf '%03d' $begun)
    mkdir -p "$dir"
    mistake "$@" >"$dir/says" 2>&1 &
    [ $((begun % cores)) -ne 0 ] || wait
}
plant "a try scope's look-out does not look again" \
    '/^CRTDEF crt_poll crt__scope_joined/,/^}/s|if (r == CRT_PENDING && .*crt__task_wake(cx->task);|(void)cx;|'
plant "a notification wakes nobody" '/^static void crt__notify_single/,/^}/s|crt__submit_list(&ready);|(void)ready;|'
plant "a cancelled acquire keeps what it was granted" \
    '/^static void crt__op_permits_cancel/,/^}/s|if (slot->state != CRT__SLOT_CLOSED) crt__permits_give.*|(void)0;|'
plant "a message that nobody received is dropped twice" \
    's|else if (c->drop) c->drop(at, c->drop_user);|else if (c->drop) c->drop(at, c->drop_user), c->drop(at, c->drop_user);|'
plant "a join that is given up stays where the next waits" '/^static void crt__word_unpark/,/^}/s|if (crt__atomic_cas(.*|(void)me;|'
plant "a time-out leaves its timer" '/^CRTDEF crt_poll crt__timeout_end/,/^}/s|crt__slot_cancel(&t->slot);|(void)0;|'
plant "a scope ends before its last task" \
    '/^CRTDEF crt_poll crt__scope_drain/,/^}/s|!= 0) return CRT_PENDING|!= 0 \&\& s->crt__tasks.count > 1) return CRT_PENDING|'
plant "a oneshot that closes wakes nobody" '/^CRTDEF void crt_oneshot_rx_close/,/^}/s|crt__word_wake(\(.*\));|(void)(\1);|'
plant "a watch skips a version" '/^static crt_poll crt__watch_wait/,/^}/s|rx->seen != |rx->seen + 1 < |'
plant "a token's children are not cancelled" \
    '/^CRTDEF void crt_cancel_token_cancel/,/^}/s|t = crt__token_next(t, top)|t = NULL|'
plant "a broadcast tells of one lost value less" 's|\*lagged = oldest - n;|*lagged = oldest - n - 1;|'
plant "a downgraded writer lets nobody in" \
    's|^CRTDEF void crt_rwlock_downgrade(crt_rwlock \*l) {.*|CRTDEF void crt_rwlock_downgrade(crt_rwlock *l) { (void)l; }|'
wait
if [ $begun -gt 0 ]; then
    cat "$B"/one.*/says
    bads=$(cat "$B"/one.*/says | grep -c '^FAILED')
    failed=$((failed + bads)); passed=$((passed + begun - bads))
fi
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
