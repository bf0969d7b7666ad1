# Draws one picture as SVG, out of what report.awk wrote and the lines it read:
#
#   awk -F'\t' -v plot=targets|throughput|cpu|p99 -v columns="crt tokio ..." -f figures.awk -f plot.awk verdicts.tsv raw.tsv
#
# The pictures have a ground of their own, so that they can be read on a dark page as well.

function escape(s) { gsub(/&/, "\\&amp;", s); gsub(/</, "\\&lt;", s); return s }

function write(x, y, s, size, anchor, colour, weight) {
    printf "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%d\" text-anchor=\"%s\" fill=\"%s\"%s>%s</text>\n", x, y, size,
        anchor, colour, weight ? " font-weight=\"bold\"" : "", escape(s)
}

function bar(x, y, w, h, colour) {
    printf "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"2\" fill=\"%s\"/>\n", x, y, w < 1 ? 1 : w, h, colour
}

function line(x, y, to_y, colour) {
    printf "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x, y, x, to_y, colour
}

function open_picture(height, title, subtitle) {
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" ", WIDTH, height, WIDTH, height
    print "font-family=\"DejaVu Sans, Verdana, Helvetica, Arial, sans-serif\">"
    printf "<rect x=\"0.5\" y=\"0.5\" width=\"%d\" height=\"%d\" rx=\"6\" fill=\"#ffffff\" stroke=\"#c8ccd2\"/>\n", WIDTH - 1, height - 1
    write(16, 26, title, 15, "start", INK, 1)
    write(16, 44, subtitle, 11, "start", GREY)
}

# Each verdict as a bar, as long as the figure is in shares of what is wanted: left of the line is met.
function draw_targets(    i, y, x, share, unit) {
    open_picture(82 + n * 18, "crt and its targets", "length: the measured ratio (or figure) over what is wanted; up to the line is met, beyond is missed")
    x = 440; unit = 130
    write(x + unit, 66, "target", 10, "middle", GREY)
    for (i = 1; i <= n; i++) {
        y = 72 + (i - 1) * 18
        share = limit[i] > 0 ? figure[i] / limit[i] : figure[i] > 0 ? 2.1 : 0
        write(x - 8, y + 12, label[i], 10.5, "end", INK)
        bar(x, y + 3, (share > 2.1 ? 2.1 : share) * unit, 12, met[i] ? GOOD : BAD)
        if (share > 2.1) write(x + 2.1 * unit + 3, y + 13, ">", 11, "start", BAD, 1)
        write(x + 2.1 * unit + 18, y + 12, shown(i), 10.5, "start", met[i] ? INK : BAD)
    }
    line(x + unit, 70, 74 + n * 18, INK)
    print "</svg>"
}

function shown(i) {
    if (against[i] == "limit") return sprintf("%s, at most %s", short(figure[i]), limit[i])
    return sprintf("%.3f of %s, at most %s", figure[i], against[i], limit[i])
}

# For each server workload a block of bars, one for each peer, on a scale of its own.
function draw_servers(title, unit, suffix, invert, title_note,    i, k, v, m, y, height, rows, most, x, value) {
    height = 60
    for (i = 1; i <= labels; i++) if (is_server(order[i], suffix)) height += 30 + 16 * present(order[i], suffix)
    open_picture(height + 6, title, title_note)
    y = 60
    for (i = 1; i <= labels; i++) if (is_server(order[i], suffix)) {
        write(16, y + 14, name_of(order[i], suffix), 12, "start", INK, 1)
        y += 20
        most = 0
        for (k = 1; k <= peers; k++) if (m = collect(order[i], peer[k], "figure", v)) {
            value[k] = invert ? 1e9 / median(v, m) : median(v, m)
            if (value[k] > most) most = value[k]
        }
        for (k = 1; k <= peers; k++) if (collect(order[i], peer[k], "figure", v)) {
            write(110, y + 11, peer[k], 11, "end", INK)
            bar(118, y + 2, most > 0 ? value[k] / most * 560 : 0, 11, peer[k] == "crt" ? OWN : peer[k] == "epoll" ? LIMIT : OTHER)
            write(124 + (most > 0 ? value[k] / most * 560 : 0), y + 11, sprintf("%.0f %s", value[k], unit), 11, "start", INK)
            y += 16
        }
        y += 10
    }
    print "</svg>"
}

function is_server(s, suffix) { return s ~ /^(echo|http) (ct|mt2),/ && s !~ /lean|spin/ && index(s, suffix) }
function present(s, suffix,    k, v, c) {
    for (k = 1; k <= peers; k++) if (collect(s, peer[k], "figure", v)) c++
    return c
}
function name_of(s, suffix) {
    s = substr(s, 1, index(s, suffix) - 2)
    sub(/ ct,/, ", server pinned to one core: ", s)
    sub(/ mt2,/, ", server on two workers: ", s)
    sub(/conns=/, "connections ", s)
    sub(/,depth=/, ", depth ", s)
    return s
}

BEGIN {
    WIDTH = 960; INK = "#1f2328"; GREY = "#59636e"; GOOD = "#2f7d4f"; BAD = "#b3382c"
    OWN = "#1f6fb2"; OTHER = "#9aa5b1"; LIMIT = "#c9923e"
    peers = split(columns, peer, " ")
}
FILENAME ~ /verdicts\.tsv$/ {
    label[++n] = $1; against[n] = $2; figure[n] = $3 + 0; limit[n] = $6; met[n] = $7 == "met"
    next
}
{ take_figure() }
END {
    if (plot == "targets") draw_targets()
    else if (plot == "throughput") draw_servers("Requests per second", "/s", "(ns between requests)", 1, "longer is better; each block has its own scale; crt blue, the bare epoll loop ochre")
    else if (plot == "cpu") draw_servers("The server's user-mode CPU time for a request", "ns", "(server user ns)", 0, "shorter is better; each block has its own scale; crt blue, the bare epoll loop ochre")
    else draw_servers("Latency: 99 of 100 requests are faster", "us", "(p99 us)", 0, "shorter is better; each block has its own scale; crt blue, the bare epoll loop ochre")
}
