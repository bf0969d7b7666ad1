# The latencies of a soak, and the memory of its processes, as SVG:
#
#   awk -F'\t' -v length=MINUTES -f tests/soak.awk report.tsv >soak.svg
#
# A panel for each kind of load (p50, p99 and p99.9 over time, logarithmic), one for the memory while quiet.
# The pictures have a ground of their own, so that they can be read on a dark page as well.

function write(x, y, s, size, anchor, colour) {
    gsub(/&/, "\\&amp;", s); gsub(/</, "\\&lt;", s)
    printf "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%d\" text-anchor=\"%s\" fill=\"%s\">%s</text>\n", x, y, size, anchor, colour, s
}
function at(t) { return LEFT + t / last * (WIDTH - LEFT - 110) }
function high(us, top) { us = us < 10 ? 10 : us > 1e7 ? 1e7 : us; return top + HEIGHT - (log(us) / log(10) - 1) / 6 * HEIGHT }
function curve(points, colour) {
    printf "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.2\" points=\"%s\"/>\n", colour, points
}

$1 == "latency" {
    if (!($3 in panel)) { panel[$3] = ++panels; title[panels] = $3 }
    i = panel[$3]; n = ++count[i]
    time[i, n] = $2; asked[i] += $4; p[i, n, 1] = $5; p[i, n, 2] = $6; p[i, n, 3] = $7
    if ($2 > last) last = $2
}
$1 == "quiet" {
    if (!($3 in process)) { process[$3] = ++processes; named[processes] = $3 }
    i = process[$3]; n = ++samples[i]
    when[i, n] = $2; rss[i, n] = $4; if ($4 > most) most = $4
    if ($2 > last) last = $2
}
END {
    WIDTH = 960; HEIGHT = 84; LEFT = 70; INK = "#1f2328"; GREY = "#59636e"; RULE = "#d8dce1"
    split("#1f6fb2 #c9923e #b3382c #2f7d4f #7a4fa3 #9aa5b1 #5b3a1e #0f8a8a", colour, " ")
    split("p50 p99 p99.9", which, " ")
    total = 70 + (panels + 1) * (HEIGHT + 34)
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" ", WIDTH, total, WIDTH, total
    print "font-family=\"DejaVu Sans, Verdana, Helvetica, Arial, sans-serif\">"
    printf "<rect x=\"0.5\" y=\"0.5\" width=\"%d\" height=\"%d\" rx=\"6\" fill=\"#ffffff\" stroke=\"#c8ccd2\"/>\n", WIDTH - 1, total - 1
    write(16, 26, sprintf("Soak: %.0f minutes", last / 60), 15, "start", INK)
    write(16, 44, "time of an answer (timers: lateness; tools: a whole session), every 5 s; client and servers share the machine", 11, "start", GREY)
    for (k = 1; k <= 3; k++) write(640 + k * 70, 44, which[k], 11, "start", colour[k])
    for (i = 1; i <= panels; i++) {
        top = 64 + (i - 1) * (HEIGHT + 34)
        write(16, top + 8, sprintf("%s, %d answers", title[i], asked[i]), 11, "start", INK)
        top += 14
        for (d = 1; d <= 7; d += 2) {
            y = high(10 ^ d, top)
            printf "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"%s\"/>\n", LEFT, y, WIDTH - 110, y, RULE
            write(LEFT - 6, y + 4, d < 3 ? "10 us" : d < 5 ? "1 ms" : d < 7 ? "100 ms" : "10 s", 9, "end", GREY)
        }
        for (k = 1; k <= 3; k++) {
            points = ""
            for (n = 1; n <= count[i]; n++) points = points sprintf("%.1f,%.1f ", at(time[i, n]), high(p[i, n, k], top))
            curve(points, colour[k])
        }
    }
    top = 64 + panels * (HEIGHT + 34)
    write(16, top + 8, "resident memory between the rounds, while nothing is under way", 11, "start", INK)
    top += 14
    for (d = 0; d <= 2; d++) {
        y = top + HEIGHT - d / 2 * HEIGHT
        printf "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"%s\"/>\n", LEFT, y, WIDTH - 110, y, RULE
        write(LEFT - 6, y + 4, sprintf("%.1f MB", most * d / 2 / 1024), 9, "end", GREY)
    }
    for (i = 1; i <= processes; i++) {
        points = ""
        for (n = 1; n <= samples[i]; n++) points = points sprintf("%.1f,%.1f ", at(when[i, n]), top + HEIGHT - rss[i, n] / most * HEIGHT)
        curve(points, colour[(i - 1) % 8 + 1])
        split(named[i], short, " ")
        write(WIDTH - 104, top + 6 + (i - 1) * 12, named[i] ~ /^this/ ? "this program" : short[1], 9, "start", colour[(i - 1) % 8 + 1])
    }
    print "</svg>"
}
