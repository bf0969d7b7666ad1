#!/bin/sh
# Everything that tests/README.md calls evidence, one step after the other, and a table of what was measured.
#
#     proof.sh [BUDGET]        1: some four hours on two cores; 0.1: a quick look
#
# BUDGET scales the seconds and counts of each step, SEED begins the fuzzers (the simulation begins with 1), STEPS names
# those to run. Each step's output goes to $B/proof/STEP.log; a step that fails prints its last lines and the one
# command that runs it again. Missing tools are said, and the step is skipped.
set -u
cd "$(dirname "$0")/.." || exit 1
budget=${1:-1}
B=${B:-.build}
SEED=${SEED:-1}
logs=$B/proof
mkdir -p "$logs"
rm -f "$logs/table"
scaled() { awk -v b="$budget" -v n="$1" -v least="$2" 'BEGIN { v = int(b * n + 0.5); print v < least ? least : v }'; }
fuzz_seconds=$(scaled 600 5)
stress_seconds=$(scaled 120 4)
model_seconds=$(scaled 300 5)
mutate_seconds=$(scaled 4 1)
seeds=$(scaled 100000 2000)
minutes=$(awk -v b="$budget" 'BEGIN { v = 30 * b; print v < 1 ? 1 : v }')
failed=0

steps=$(sed -n -E 's/^(step|optional) ([a-z]+) .*/\2/p' tests/proof.sh)
for name in ${STEPS:-}; do
    case " $(echo $steps) " in *" $name "*) ;; *) echo "proof: no step is called $name; there are:" $steps >&2; exit 2 ;; esac
done

# step NAME "what it measured, as an awk program over its log" COMMAND...
step() {
    name=$1 figure=$2; shift 2
    case " ${STEPS:-$name} " in *" $name "*) ;; *) return ;; esac
    t0=$(date +%s)
    printf '%-10s %s\n' "$name" "$*"
    if "$@" >"$logs/$name.log" 2>&1; then verdict=ok; else verdict=FAILED; failed=1; fi
    took=$(($(date +%s) - t0))
    printf '%s\t%s\t%s\t%s\n' "$name" "$verdict" "$took" "$(awk "$figure" "$logs/$name.log")" >>"$logs/table"
    if [ $verdict = FAILED ]; then
        tail -n 25 "$logs/$name.log" | sed 's/^/    /'
        echo "    again: $*"
    fi
}
target() { grep -q "^$1:" Makefile; }
optional() {   # a step that is a target of make, where there is one
    case " ${STEPS:-$1} " in *" $1 "*) ;; *) return ;; esac
    if target "$1"; then step "$1" "$2" make "$1" B="$B"; else printf '%-10s skipped: make has no target of this name\n' "$1"; fi
}
SUM='/^[0-9]+ passed, [0-9]+ failed$/ { p += $1; f += $3; n++ } END { printf "%d passed, %d failed in %d runs", p, f, n }'
LAST='NF { l = $0 } END { print l }'
FUZZ='/executions in/ { n += $2; t++ } END { printf "%.0f executions of %d targets", n, t }'
TESTS='/passed .* failed .*s/ { programs++ } /^[0-9]+ passed, [0-9]+ failed$/ { l = $0 } END { printf "%d programs: %s", programs, l }'
# The models run twice: every schedule with two preemptions, where no bugs are seeded, and then at random and deeper.
MODELS='/schedules of/ { n = whole = $0; sub(/ schedules of.*/, "", n); sub(/.* /, "", n); s += n
            sub(/.* schedules of /, "", whole); split(whole, w, /[ ,]+/)
            if (whole ~ / 0 seeded bugs/) all += w[3]; else { m += w[1]; c += w[3]; bugs += w[7]; programs++ } }
        END { printf "%.0f schedules of %d models (%d complete with two preemptions, %d deeper) in %d programs, %d seeded bugs found", s, m, all, c, programs, bugs }'

echo "proof: budget $budget, seed $SEED, $(nproc) processors, $(uname -sr), $(${CC:-cc} --version | head -n 1)"
step test "$TESTS" make test B="$B"
step clang "$TESTS" make test CC=clang B="$B/clang"
step warnings "$LAST" make warnings
step lint "$LAST" make lint
step sanitize "$SUM" make sanitize B="$B"
optional msan "$SUM"
optional valgrind "$SUM"
optional stall "$LAST"
optional analyze "$LAST"
optional coverage "$LAST"
step models "$MODELS" make models B="$B" MODEL_DEPTH=3 MODEL_BUDGET="$model_seconds"
step mutate "$LAST" make mutate B="$B" SECONDS="$mutate_seconds"
step sim "$LAST" make sim B="$B" SEEDS="$seeds"
step programs "$LAST" make programs B="$B" SEEDS="$seeds"
step fuzz "$FUZZ" env SEED="$SEED" make fuzz B="$B" SECONDS="$fuzz_seconds"
step stress "$LAST" make stress B="$B" SECONDS="$stress_seconds"
step load "$LAST" make load B="$B"
step connections "$LAST" make connections B="$B"
step apps "$LAST" make apps B="$B"
optional cross "$LAST"
step counts "$LAST" make bench-check
step soak '/minutes,/ { m = $0 } /passed,/ { l = $0 } END { print m "; " l }' make soak B="$B" MINUTES="$minutes"

echo
awk -F'\t' '{ printf "%-12s %-7s %6d s  %s\n", $1, $2, $3, $4; t += $3; bad += $2 != "ok" }
            END { printf "\n%d steps, %d failed, %.1f hours\n", NR, bad, t / 3600 }' "$logs/table"
exit $failed
