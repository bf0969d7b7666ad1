# Shared by report.awk and plot.awk: the lines of raw.tsv (group, label, peer, round, figure, CPU figure) and medians.

function take_figure() {
    if ($5 !~ /^-?[0-9.]/) return   # nan, inf, nothing
    if (!($1 in members)) group[++groups] = $1
    if (!($2 in known)) { known[$2]; order[++labels] = $2; row[$1, ++members[$1]] = $2 }
    got[$2, $3, $4, "figure"] = $5 + 0
    if ($6 != "") got[$2, $3, $4, "cpu"] = $6 + 0
    runs_in[$1, $3]
    if ($4 > last) last = $4
}

function short(x) { return x == "" ? "" : sprintf(x < 0.1 && x > 0 ? "%.4f" : x < 99.95 ? "%.1f" : "%.0f", x) }

function sort(v, n,    i, j, x) {
    for (i = 2; i <= n; i++) {
        x = v[i]
        for (j = i - 1; j > 0 && v[j] > x; j--) v[j + 1] = v[j]
        v[j + 1] = x
    }
}

function median(v, n) { return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2 }

# The figures of a row and peer over the rounds, sorted, in v; how many. what: figure, cpu.
function collect(label, peer, what, v,    r, n) {
    split("", v)
    for (r = 0; r <= last; r++) if ((label, peer, r, what) in got) v[++n] = got[label, peer, r, what]
    sort(v, n)
    return n + 0
}
