# Makes the tables of run.sh out of its lines: group, label, peer, round, figure, CPU figure. Lower is better in all.
#
#   awk -F'\t' -v columns="crt tokio ..." -v verdicts=FILE -f figures.awk -f report.awk targets.tsv raw.tsv
#
# A cell is the median over the rounds, (lowest..highest), [CPU time]; a ratio is the median of the ratios within the
# rounds, (lowest..highest), [the same of CPU time]; below 1 crt needs less. A round in which a figure is 0, or is
# missing, has no ratio. Then the targets, one by one, by the median, those of "at most 0" by the worst round; they are also written to `verdicts`, for plot.awk: label, against, ratio or figure, lowest, highest, at most, met or missed.

function collect_ratios(label, peer, what, v,    r, n) {
    split("", v)
    for (r = 0; r <= last; r++)
        if (has(label, "crt", r, what) && has(label, peer, r, what))
            v[++n] = got[label, "crt", r, what] / got[label, peer, r, what]
    sort(v, n)
    return n + 0
}

# Whether there is a figure that a ratio can be made of. (To look at an element without "in" makes one.)
function has(label, peer, r, what) { return (label, peer, r, what) in got && got[label, peer, r, what] > 0 }

function is_among(peer, against) {
    if (peer ~ /^crt/) return peer == against
    if (against == "rivals") return peer ~ /^(tokio|go)/
    if (against == "tokio") return peer ~ /^tokio/
    if (against == "peers") return peer != "epoll"
    if (against == "all") return 1
    return peer == against
}

# The one among them with the lowest median; "" if none has run.
function best(label, against, what,    k, v, n, x, lowest, who) {
    for (k = 1; k <= peers; k++) if (is_among(peer[k], against) && (n = collect(label, peer[k], what, v))) {
        x = median(v, n)
        if (who == "" || x < lowest) { lowest = x; who = peer[k] }
    }
    return who
}

function cell(label, peer,    n, v, text) {
    if (!(n = collect(label, peer, "figure", v))) return "-"
    text = short(median(v, n))
    if (v[1] != v[n]) text = text " (" short(v[1]) ".." short(v[n]) ")"
    if (n = collect(label, peer, "cpu", v)) text = text " [" short(median(v, n)) "]"
    return text
}

function ratio(label, against,    who, n, v, text) {
    who = best(label, against, "figure")
    if (who == "" || !(n = collect_ratios(label, who, "figure", v))) return "-"
    text = sprintf("%.2f", median(v, n))
    if (v[1] != v[n]) text = text sprintf(" (%.2f..%.2f)", v[1], v[n])
    if (n = collect_ratios(label, who, "cpu", v)) text = text sprintf(" [%.2f]", median(v, n))
    return text " " who
}

# Prints at[0..rows, 1..width] in columns.
function print_columns(rows, width,    i, k, widest, line) {
    for (k = 1; k <= width; k++)
        for (i = 0; i <= rows; i++) if (length(at[i, k]) > widest[k]) widest[k] = length(at[i, k])
    for (i = 0; i <= rows; i++) {
        line = ""
        for (k = 1; k <= width; k++) line = line sprintf("%-" widest[k] "s  ", at[i, k])
        sub(/ +$/, "", line)
        print line
    }
    print ""
}

function print_group(group,    k, i, rows, width, used, shown) {
    for (k = 1; k <= peers; k++) if ((group, peer[k]) in runs_in) shown[++used] = peer[k]
    rows = members[group]
    width = used + 1
    at[0, 1] = group
    for (k = 1; k <= used; k++) at[0, k + 1] = shown[k]
    for (i = 1; i <= rows; i++) {
        at[i, 1] = row[group, i]
        for (k = 1; k <= used; k++) at[i, k + 1] = cell(row[group, i], shown[k])
    }
    if ("crt" == shown[1] && used > 1) {
        at[0, ++width] = "crt/best"
        for (i = 1; i <= rows; i++) at[i, width] = ratio(row[group, i], "all")
    }
    if ((group, "crt-again") in runs_in) {
        at[0, ++width] = "crt/itself"
        for (i = 1; i <= rows; i++) at[i, width] = ratio(row[group, i], "crt-again")
    }
    print_columns(rows, width)
}

# Fills a line of the table of targets; 0 if crt or the other has not run it.
function judge(i, label, t,    n, v, who, x) {
    if (against[t] == "-") n = collect(label, "crt", what[t], v)
    else if ((who = best(label, against[t], what[t])) != "") n = collect_ratios(label, who, what[t], v)
    if (!n && (who == "" || !collect(label, "crt", what[t], v))) return 0
    at[i, 1] = label (what[t] == "cpu" ? " [CPU]" : "")
    at[i, 2] = who == "" ? "-" : who (against[t] == who ? "" : " (best of " against[t] ")")
    if (!n) {   # both have run, but a figure is 0 or none
        at[i, 3] = "no ratio"
        at[i, 4] = ""; at[i, 5] = limit[t]; at[i, 6] = "-"
        return 1
    }
    # "At most 0" is "never": the worst of the rounds counts. The median of 0, 0 and 900 us too early would be 0.
    x = limit[t] + 0 ? median(v, n) : v[n]
    at[i, 3] = who == "" ? short(x) : sprintf("%.3f", x)
    at[i, 4] = v[1] == v[n] ? "" : who == "" ? short(v[1]) ".." short(v[n]) : sprintf("%.2f..%.2f", v[1], v[n])
    at[i, 5] = limit[t]
    at[i, 6] = x <= limit[t] + 0 ? "met" : "missed"
    print label, who == "" ? "limit" : who, x, v[1], v[n], limit[t], at[i, 6] >verdicts
    return 1
}

function print_targets(    g, t, i, label, n, met, unseen) {
    split("target|against|crt|(range)|at most|", head, "|")
    for (i = 1; i <= 6; i++) at[0, i] = head[i]
    for (t = 1; t <= targets; t++) {
        found = 0
        for (i = 1; i <= labels; i++) if (order[i] ~ pattern[t] && judge(n + 1, order[i], t)) {
            found = 1
            if (at[++n, 6] == "met") met++
            else if (at[n, 6] == "-") none++
        }
        if (!found) unseen++
    }
    if (!n) return
    print_columns(n, 6)
    printf "%d targets looked at: %d met, %d missed%s; %d lines of targets.tsv not measured in this run.\n\n",
        n, met, n - met - none, none ? ", " none " without a ratio" : "", unseen
}

BEGIN { peers = split(columns, peer, " "); OFS = "\t" }
/^#/ { next }
FILENAME ~ /targets\.tsv$/ {
    pattern[++targets] = $1; against[targets] = $2; what[targets] = $3; limit[targets] = $4
    next
}
{ take_figure() }
END {
    for (g = 1; g <= groups; g++) print_group(group[g])
    print_targets()
}
