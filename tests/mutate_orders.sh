#!/bin/sh
# Every order in crt.h that is more than relaxed, taken away: mutate_orders.sh [SECONDS for each place and program] [NAME...]
# One place at a time has relaxed order (a fence is left out; a compare-and-exchange loses both of its orders), and the
# models of each program that come there run at random, by priorities and by DPOR, with weak memory, plain accesses
# being watched. A place is killed if a model of any program fails. One that survives has to stand in
# tests/orders.txt with its reason (or as unseen: needed, and not noticed); one that is listed there and is killed is named, so that the list stays true.
# Or it stands there as `slow: PROGRAM SECONDS MODEL`: that model kills it, but needs so long, and is given it at the end.
# One place by hand: PLACE="crt__notify_one: fence" MODEL="beside a long poll" .build/mutate/park mutate 6
# B: build directory. The list of every place goes to $B/mutate/places.txt.
set -u
cd "$(dirname "$0")/.." || exit 1
B=${B:-.build}/mutate
seconds=${1:-2}
[ $# -gt 0 ] && shift
programs=${*:-$(cd tests && ls model_*.c | sed 's/model_//; s/\.c//')}
mkdir -p "$B"
[ -n "${KEEP:-}" ] || rm -f "$B"/*.out
for p in $programs; do
    if [ -n "${KEEP:-}" ] && [ -s "$B/$p.out" ]; then continue; fi
    gcc -std=c11 -O1 -w -D_GNU_SOURCE -U_FORTIFY_SOURCE -fsanitize=thread -DMODEL_RACES -I. -Itests -c "tests/model_$p.c" -o "$B/$p.o" &&
        gcc "$B/$p.o" -o "$B/$p" -pthread || exit 1
    # What fails with nothing taken away would kill every place that it comes to.
    "$B/$p" >"$B/$p.base" 2>&1 || { cat "$B/$p.base"; echo "$p fails as it is, watched for races"; exit 1; }
    # What another program kills already is left out.
    killed=$(cat "$B"/*.out 2>/dev/null | awk -F'\t' '$1 == "place" && $5 != "-" { printf "|%s %s|", $2, $4 }')
    "$B/$p" mutate "$seconds" "$killed" >"$B/$p.new" 2>&1 && mv "$B/$p.new" "$B/$p.out" || { cat "$B/$p.new"; exit 1; }
    printf '%-10s %4d places, %4d killed\n' "$p" "$(grep -c '^place' "$B/$p.out")" "$(awk -F'\t' '$1 == "place" && $5 != "-"' "$B/$p.out" | wc -l)"
done
rm -f "$B/slow.out"
tab=$(printf '\t')
grep "${tab}slow: " tests/orders.txt | while IFS="$tab" read -r place how; do
    set -- $how
    p=$2; time=$3; shift 3
    case " $(echo $programs) " in *" $p "*) ;; *) continue ;; esac
    [ -z "$(cat "$B"/*.out | awk -F'\t' -v k="$place" '$1 == "place" && $3 ": " $4 == k && $5 != "-"')" ] || continue
    PLACE="$place" MODEL="$*" "$B/$p" mutate "$time" >>"$B/slow.out"
done
# All orders, as the source has them: line and function. Those where no model comes are not survivors, but unseen.
awk '/^[A-Za-z].*\(/ && !/;[ ]*$/ { if (match($0, /(crt__?[a-z0-9_]+)\(/)) fn = substr($0, RSTART, RLENGTH - 1) }
     /CRT__(ACQUIRE|RELEASE|ACQ_REL|SEQ_CST)/ && !/^#define/ && FNR > 2700 { print FNR "\t" fn }' crt.h >"$B/source.txt"
# shellcheck disable=SC2046
awk -F'\t' '
    FILENAME ~ /orders\.txt$/ {
        if ($0 ~ /^@/) said[$1] = $2
        else if ($0 !~ /^#/ && $2 !~ /^slow: / && NF >= 2) { reason[$1] = $2 in said ? said[$2] : $2; open_[$1] = $2 == "@unseen" }
        next
    }
    FILENAME ~ /source\.txt$/ { line_of[$1] = $2; lines++; next }
    $1 == "place" {
        key = $3 ": " $4
        at[key] = at[key] ? at[key] : $2
        seen_line[$2] = 1
        if (!((key, $2) in known)) { known[key, $2] = 1; order[++n] = key SUBSEP $2 }
        if ($5 != "-") by[key, $2] = $5
    }
    END {
        for (i = 1; i <= n; i++) {
            split(order[i], k, SUBSEP)
            r = k[1] in reason ? reason[k[1]] : ""
            if (order[i] in by) { killed++; good[k[1]] = 1; printf "killed    %5d %s  by \"%s\"\n", k[2], k[1], by[order[i]] >places }
            else if (r != "" && open_[k[1]]) { open_count++; used[k[1]] = 1; printf "open      %5d %s\n", k[2], k[1] >places }
            else if (r != "") { argued++; used[k[1]] = 1; printf "argued    %5d %s  %s\n", k[2], k[1], r >places }
            else { bad++; printf "SURVIVES  %5d %s\n", k[2], k[1]; printf "SURVIVES  %5d %s\n", k[2], k[1] >places }
        }
        for (key in reason) if (key in good && !(key in used)) printf "listed in tests/orders.txt, but killed: %s\n", key
        for (l in line_of) if (!(l in seen_line)) { unseen++; printf "unseen    %5d %s\n", l, line_of[l] >places }
        printf "%d places with an order: %d killed, %d argued in tests/orders.txt, %d unseen there, %d survive; %d lines where no model comes\n", \
            n, killed, argued, open_count, bad, unseen
        exit bad > 0
    }' places="$B/places.txt" tests/orders.txt "$B/source.txt" $(for p in $programs slow; do [ ! -f "$B/$p.out" ] || echo "$B/$p.out"; done)
