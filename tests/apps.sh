#!/bin/sh
# The larger examples as their users meet them: each is started on a free loopback port,
# driven with curl, nc and redis-cli, looked at, and stopped with SIGINT, which must give
# exit status 0. What a missing tool would drive is skipped with a line that says so.
#   tests/apps.sh          B=directory of the builds (.build); ASAN=1: built with ASan+UBSan
cd "$(dirname "$0")/.." || exit 1
B=${B:-.build}
FLAGS=${CFLAGS:--O2 -g}
if [ -n "$ASAN" ]; then
    B=$B/asan
    FLAGS="-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
fi
for p in mini_redis tcp_proxy static_files chat dns_lookup game_loop foreign_loop http_server echo_server; do
    MAKEFLAGS= make -s "$B/$p" B="$B" CFLAGS="$FLAGS" || exit 1
done
work=$(mktemp -d) || exit 1
passed=0; failed=0; started=
pass() { passed=$((passed + 1)); }
fail() { echo "FAILED: $1"; failed=$((failed + 1)); [ -f "$work/log" ] && sed 's/^/    /' "$work/log" | tail -n 20; }
check() { if [ "$2" = "$3" ]; then pass; else fail "$1: expected '$3', got '$2'"; fi; }
contains() { case $2 in *"$3"*) pass ;; *) fail "$1: '$3' is not in '$2'" ;; esac; }
have() { command -v "$1" >/dev/null && return 0; echo "skipped: $2 (no $1)"; return 1; }
cleanup() { for p in $started; do kill -9 "$p" 2>/dev/null; done; rm -rf "$work"; }
trap cleanup EXIT

start() {   # start LOG PROGRAM ARGUMENTS...: pid and port of a server that prints its address
    log=$work/$1; shift
    : >"$log"   # there may have been another of that name
    "$@" >"$log" 2>&1 &
    pid=$!; started="$started $pid"; port=
    for i in $(seq 100); do
        port=$(sed -n 's/^[^0-9]*127\.0\.0\.1:\([0-9]*\).*/\1/p' "$log" | head -n 1)
        [ -n "$port" ] && return 0
        kill -0 $pid 2>/dev/null || break
        sleep 0.05
    done
    cp "$log" "$work/log"; fail "$1 does not start"
    return 1
}
stop() {   # stop NAME PID LOG
    kill -INT "$2"
    for i in $(seq 500); do kill -0 "$2" 2>/dev/null || break; sleep 0.02; done
    kill -9 "$2" 2>/dev/null
    wait "$2"; check "$1: exit status after SIGINT" $? 0
    if grep -Eq 'Sanitizer|runtime error|did not end|leak' "$work/$3"; then cp "$work/$3" "$work/log"; fail "$1 complains"; else pass; fi
}

# ---- static_files
site=$work/site
mkdir -p "$site/sub/deep" "$site/plain" "$site/.git"
echo 'hello' >"$site/a.txt"; echo '<p>index' >"$site/sub/index.html"; : >"$site/empty.css"
echo 'secret' >"$site/.hidden"; echo secret >"$site/.git/config"; echo outside >"$work/outside.txt"
ln -s ../outside.txt "$site/link.txt"; ln -s .. "$site/up"; mkfifo "$site/fifo"
echo 'space' >"$site/a b&c.txt"
long=$(head -c 120 /dev/zero | tr '\0' d); mkdir "$site/$long" "$site/closed"
echo closed >"$site/closed/index.html"; chmod 000 "$site/closed/index.html"
# What root may read whatever its mode says, it may not without its capabilities.
plain=; [ "$(id -u)" != 0 ] || ! command -v setpriv >/dev/null || plain="setpriv --bounding-set=-all --inh-caps=-all"
head -c 300000 /dev/urandom >"$site/big.bin"
if have curl static_files && start static $plain "$B/static_files" "$site" 0; then
    url=http://127.0.0.1:$port
    code() { curl -s -o /dev/null -w '%{http_code}' --max-time 5 --path-as-is "$@"; }
    header() { name=$1; shift; curl -s -D - -o /dev/null --max-time 5 "$@" | tr -d '\r' | sed -n "s/^$name: //Ip"; }
    check "a file" "$(curl -s --max-time 5 $url/a.txt)" hello
    check "its type" "$(header content-type $url/a.txt)" "text/plain; charset=utf-8"
    check "HEAD has no body" "$(curl -s -I --max-time 5 $url/a.txt | tr -d '\r' | sed -n 's/^Content-Length: //p')" 6
    curl -s --max-time 5 $url/big.bin >"$work/big"; cmp -s "$work/big" "$site/big.bin"; check "a long file is the same" $? 0
    check "an empty file" "$(code $url/empty.css)" 200
    check "a name with spaces" "$(curl -s --max-time 5 "$url/a%20b&c.txt")" space
    check "index.html" "$(curl -s --max-time 5 $url/sub/)" '<p>index'
    check "a directory without slash" "$(code $url/sub)" 301
    check "a directory with a long name" "$(header location $url/$long)" "./$long/"
    if [ -r "$site/closed/index.html" ] && [ -z "$plain" ]; then echo "skipped: an index.html that is closed (no setpriv)"
    else check "an index.html that is closed" "$(code $url/closed/)" 403; fi
    check "and follows" "$(curl -s -L --max-time 5 $url/sub)" '<p>index'
    contains "a list" "$(curl -s --max-time 5 $url/)" '<a href="./a%20b%26c.txt">a b&#38;c.txt</a>'
    case $(curl -s --max-time 5 $url/) in *hidden*|*git*|*link*|*fifo*) fail "the list shows what is not served" ;; *) pass ;; esac
    check "a range" "$(curl -s --max-time 5 -r 1-3 $url/a.txt)" ell
    check "a range: status" "$(code -r 1-3 $url/a.txt)" 206
    check "a range: not of a HEAD" "$(code -I -r 1-3 $url/a.txt)" 200
    check "a range: header" "$(header content-range -r 1-3 $url/a.txt)" "bytes 1-3/6"
    check "a suffix" "$(curl -s --max-time 5 -r -2 $url/a.txt)" o
    check "an open range" "$(curl -s --max-time 5 -r 4- $url/a.txt)" o
    check "a range beyond" "$(code -r 100-200 $url/a.txt)" 416
    check "several ranges: all" "$(code -r 0-0,2-2 $url/a.txt)" 200
    curl -s --max-time 5 -r 70000-250000 $url/big.bin >"$work/part"
    tail -c +70001 "$site/big.bin" | head -c 180001 | cmp -s - "$work/part"; check "a long range is the same" $? 0
    date=$(header last-modified $url/a.txt)
    check "not modified" "$(code -H "If-Modified-Since: $date" $url/a.txt)" 304
    check "modified" "$(code -H 'If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT' $url/a.txt)" 200
    check "a date that is none" "$(code -H 'If-Modified-Since: yesterday' $url/a.txt)" 200
    check "a date at hour -1" "$(code -H 'If-Modified-Since: Fri, 31 Dec 2060 -1:59:59 GMT' $url/a.txt)" 200
    check "a date beside a tag" "$(code -H "If-Modified-Since: $date" -H 'If-None-Match: "x"' $url/a.txt)" 200
    for old in "$(date -u -d "$date" '+%A, %d-%b-%y %H:%M:%S GMT')" "$(date -u -d "$date" '+%a %b %e %H:%M:%S %Y')"; do
        check "not modified, $old" "$(code -H "If-Modified-Since: $old" $url/a.txt)" 304
        check "unmodified, $old" "$(code -H "If-Unmodified-Since: $old" $url/a.txt)" 200
    done
    for early in 'Sunday, 06-Nov-94 08:49:37 GMT' 'Sun Nov  6 08:49:37 1994' 'Sun, 06 Nov 1994 08:49:37 GMT' 'Sun, 06 Nov 1960 08:49:37 GMT'; do
        check "modified, $early" "$(code -H "If-Modified-Since: $early" $url/a.txt)" 200
        check "unmodified, $early" "$(code -H "If-Unmodified-Since: $early" $url/a.txt)" 412
        check "unmodified, $early, a range" "$(code -r 1-3 -H "If-Unmodified-Since: $early" $url/a.txt)" 412
    done
    check "unmodified since a date that is none" "$(code -H 'If-Unmodified-Since: yesterday' $url/a.txt)" 200
    check "If-Match" "$(code -H 'If-Match: "x"' $url/a.txt)" 412
    check "If-Match, a range" "$(code -r 1-3 -H 'If-Match: "x"' $url/a.txt)" 412
    check "If-Match: any" "$(code -H 'If-Match: *' $url/a.txt)" 200
    check "If-Match: any, before a date" "$(code -H 'If-Match: *' -H "If-Unmodified-Since: $early" $url/a.txt)" 200
    check "If-Match, of what is not there" "$(code -H 'If-Match: "x"' $url/none)" 404
    check "If-Match, a list" "$(code -H 'If-Match: "x"' $url/)" 412
    check "If-None-Match: any" "$(code -H 'If-None-Match: *' $url/a.txt)" 304
    check "a range to beyond any number" "$(code -H 'Range: bytes=1-99999999999999999999' $url/a.txt)" 206
    check "a suffix beyond any number" "$(curl -s --max-time 5 -H 'Range: bytes=-99999999999999999' $url/a.txt)" hello
    check "a suffix beyond any number: status" "$(code -H 'Range: bytes=-99999999999999999' $url/a.txt)" 206
    check "a range from beyond any number" "$(code -H 'Range: bytes=99999999999999999999-' $url/a.txt)" 416
    check "If-Range, the same" "$(code -r 1-3 -H "If-Range: $date" $url/a.txt)" 206
    check "If-Range, another" "$(code -r 1-3 -H 'If-Range: Sun, 06 Nov 1994 08:49:37 GMT' $url/a.txt)" 200
    for path in /none /../outside.txt /sub/../../outside.txt /%2e%2e/outside.txt /sub/..%2f..%2foutside.txt /.hidden /.git/config \
                /link.txt /up/outside.txt /fifo /a.txt/ /sub/./index.html; do
        check "$path" "$(code "$url$path")" 404
    done
    check "empty parts count for nothing" "$(code $url//sub///index.html)" 200
    check "a NUL" "$(code $url/a.txt%00.png)" 400
    check "POST" "$(code -d x $url/a.txt)" 405
    check "a long target" "$(code $url/$(head -c 5000 /dev/zero | tr '\0' a))" 431
    check "keep-alive: one connection for three" "$(curl -s -o /dev/null -o /dev/null -o /dev/null -w '%{num_connects} ' --max-time 5 $url/a.txt $url/sub/ $url/big.bin)" "1 0 0 "
    if have nc "pipelining"; then
        # The statuses of all answers to these bytes, the last of which closes.
        raw() { printf "$1" | nc -q 2 -w 5 127.0.0.1 $port | sed -n 's/^HTTP\/1.1 \([0-9]*\).*/\1/p' | tr '\n' ' '; }
        next='GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n' last='GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
        check "pipelining" "$(raw "${next}HEAD /big.bin HTTP/1.1\r\nHost: x\r\n\r\n$last")" "200 200 200 "
        check "empty lines" "$(raw "\r\n$next\r\n\r\n$last")" "200 200 "
        check "close among other words" "$(raw "GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: TE, close\r\n\r\n$next")" "200 "
        target_and_host() {   # of both servers: a path that they serve
            check "a whole URL" "$(raw "GET HTTP://h:80$1 HTTP/1.0\r\n\r\n")" "200 "
            check "a path in a query is none" "$(raw "GET http://h?q=$1 HTTP/1.0\r\n\r\nGET /none HTTP/1.0\r\n\r\n")" "200 "
            case $(printf "GET http://h?q=$1 HTTP/1.0\r\n\r\n" | nc -q 2 -w 5 127.0.0.1 $port) in
            *text/html*) pass ;; *) fail "a path in a query is served" ;; esac
            for host in 'a b/c@d, e' 'a/b' 'a@b' 'a:b' '::1' '[::1' '[]' '[::1]x' 'a\\b'; do
                check "Host: $host" "$(raw "GET $1 HTTP/1.1\r\nHost: $host\r\n\r\n$next")" "400 "
            done
            for host in '' a a.b-c_d:80 '[::1]' '[::1]:80' a: 1.2.3.4:5; do
                check "Host: $host" "$(raw "GET $1 HTTP/1.1\r\nHost: $host\r\nConnection: close\r\n\r\n")" "200 "
            done
            check "HTTP/1.2" "$(raw "GET $1 HTTP/1.2\r\nHost: x\r\n\r\nGET $1 HTTP/1.0\r\n\r\n")" "200 200 "
            for version in HTTP/AAA HTTP/1.x HTTP/1 HTTP/1.10 http/1.1; do
                check "$version" "$(raw "GET $1 $version\r\nHost: x\r\n\r\n")" "400 "
            done
            check "HTTP/3" "$(raw "GET $1 HTTP/3.0\r\nHost: x\r\n\r\n")" "505 "
        }
        target_and_host /a.txt
        check "not HTTP" "$(raw 'hello\r\n\r\n')" "400 "
        check "HTTP/2" "$(raw 'GET / HTTP/2.0\r\n\r\n')" "505 "
        check "no Host" "$(raw "GET /a.txt HTTP/1.1\r\n\r\n$next")" "400 "
        check "a body" "$(raw 'GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello')" "400 "
        # A body is never taken for a request, however its length is hidden.
        for field in 'Content-Length: 38' 'Content-Length\t: 38' 'Transfer-Encoding\013: chunked' 'X: y\rContent-Length: 38'; do
            check "$field" "$(raw "GET /a.txt HTTP/1.1\r\nHost: x\r\n$field\r\n\r\n$next")" "400 "
            check "$field, HTTP/1.0" "$(raw "GET /a.txt HTTP/1.0\r\n$field\r\nConnection: keep-alive\r\n\r\n$next")" "400 "
        done
        check "a bad path, HTTP/1.0" "$(raw "GET a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n$next")" "400 "
    fi
    if have wrk "static_files under load"; then
        wrk -t1 -c50 -d1s $url/a.txt >"$work/log" 2>&1
        if grep -q 'Requests/sec' "$work/log" && ! grep -Eq 'Socket errors|Non-2xx' "$work/log"; then pass; else fail "wrk saw errors"; fi
    fi

    # ---- tcp_proxy, in front of it
    web=$port; web_pid=$pid
    if start proxy "$B/tcp_proxy" 127.0.0.1:0 127.0.0.1:$web 100 1; then
        curl -s --max-time 5 http://127.0.0.1:$port/big.bin >"$work/big"; cmp -s "$work/big" "$site/big.bin"; check "through the proxy" $? 0
        if have nc "half-close through the proxy"; then
            # All is sent, the writing side is shut, and the answer still comes.
            contains "half-close" "$(printf 'GET /a.txt HTTP/1.0\r\n\r\n' | nc -N -w 5 127.0.0.1 $port)" hello
            begun=$(date +%s); (sleep 4) | nc -w 6 127.0.0.1 $port >/dev/null; took=$(($(date +%s) - begun))
            if [ $took -le 5 ]; then pass; else fail "an idle connection stayed for $took s"; fi
        fi
        for i in 1 2 3 4 5 6 7 8; do curl -s --max-time 5 http://127.0.0.1:$port/big.bin | cksum >"$work/sum$i" & sums="$sums $!"; done
        for p in $sums; do wait $p; done
        check "eight at once" "$(cat "$work"/sum? | sort -u | wc -l)" 1
        stop tcp_proxy $pid proxy
        contains "what it did" "$(cat "$work/proxy")" "0 not connected"
    fi
    stop static_files $web_pid static
    if start proxy2 "$B/tcp_proxy" 127.0.0.1:0 127.0.0.1:1; then
        curl -s -o /dev/null --max-time 5 http://127.0.0.1:$port/; [ $? -ne 0 ]; check "nobody behind the proxy" $? 0
        stop tcp_proxy $pid proxy2
        contains "it is counted" "$(cat "$work/proxy2")" "1 not connected"
    fi
fi

# A file that is shorter than the system says.
lies=/sys/kernel/mm/transparent_hugepage
if [ -r $lies/enabled ] && have curl "a file that cannot be read" && start static2 "$B/static_files" $lies 0; then
    check "a file that cannot be read" "$(curl -s -o /dev/null -w '%{http_code}' --max-time 5 http://127.0.0.1:$port/enabled)" 500
    stop static_files $pid static2
fi
if start proxy3 sh -c 'ulimit -n 64; exec "$@"' sh "$B/tcp_proxy" 127.0.0.1:0 127.0.0.1:1 1000; then
    contains "no more connections than descriptors" "$(cat "$work/proxy3")" "at most 16 connections"
    # Its own address, under whatever name: each connection would make another.
    stop tcp_proxy $pid proxy3
    for pair in "127.0.0.1:$port 127.0.0.1" "0.0.0.0:$port 127.0.0.1" "127.0.0.1:$port 0.0.0.0" "127.0.0.1:$port localhost"; do
        timeout 20 "$B/tcp_proxy" $pair:$port >"$work/out" 2>"$work/log"; check "tcp_proxy $pair" $? 1
        contains "tcp_proxy $pair says why" "$(cat "$work/log")" "this is the proxy itself"
    done
fi
# Few descriptors: few connections, but each gets its file.
if have curl "few descriptors" && start static3 sh -c 'ulimit -n 20; exec "$@"' sh "$B/static_files" "$site" 0; then
    rm -f "$work"/few*; fews=
    for i in 1 2 3 4 5 6 7 8; do curl -s --max-time 9 http://127.0.0.1:$port/a.txt >"$work/few$i" & fews="$fews $!"; done
    for p in $fews; do wait $p; done
    check "few descriptors" "$(cat "$work"/few* | sort | uniq -c | tr -d ' \n')" 8hello
    stop static_files $pid static3
fi
if have nc "http_server's targets" && [ -n "$url" ] && start http "$B/http_server" 0; then
    target_and_host /stats
    stop http_server $pid http
fi

# Where it listens may be a name, which is looked up first.
"$B/tcp_proxy" localhost:0 127.0.0.1:1 >"$work/proxy4" 2>&1 & pid=$!; started="$started $pid"
for i in $(seq 200); do if [ -s "$work/proxy4" ] || ! kill -0 $pid 2>/dev/null; then break; fi; sleep 0.05; done
contains "tcp_proxy on a name" "$(cat "$work/proxy4")" " -> 127.0.0.1:1, at most"
stop "tcp_proxy on a name" $pid proxy4
timeout 60 "$B/tcp_proxy" nosuch.invalid:80 127.0.0.1:1 >"$work/out" 2>"$work/log"; check "tcp_proxy on a name that is not there" $? 1
check "it says so" "$(cat "$work/log")" "nosuch.invalid:80: no such name or address"
check "and counts nothing" "$(cat "$work/out")" ""

# ---- All that stop on a signal hear it as soon as they say so; if they cannot hear it, they do not begin.
mkfifo "$work/said"
for server in "static_files . 0" "http_server 0" "chat 0" "tcp_proxy 127.0.0.1:0 127.0.0.1:1"; do
    "$B"/$server >"$work/said" 2>&1 & pid=$!; started="$started $pid"
    exec 6<"$work/said"; read -r line <&6; kill -TERM $pid; cat <&6 >/dev/null; exec 6<&-
    wait $pid; check "$server: stopped at once" $? 0
    (ulimit -n 7; exec timeout 5 "$B"/$server) >"$work/log" 2>&1; check "$server: no descriptor for signals" $? 1
done
# ---- Arguments that are none
for wrong in "static_files . 80x" "http_server 0 zzz" "chat abc" "tcp_proxy 127.0.0.1:0 127.0.0.1:1 5x" "foreign_loop abc" \
             "echo_server multi_thread 0 x" "game_loop --headless --frames abc" "tcp_proxy 127.0.0.1:0 localhost" \
             "tcp_proxy 127.0.0.1:0 localhost:99999" "tcp_proxy 127.0.0.1:0 ::1:80" "tcp_proxy 127.0.0.1:0 :80" "tcp_proxy --help" \
             "static_files --help" "dns_lookup -t" "dns_lookup -x" "dns_lookup --help" "dns_lookup localhost --help"; do
    timeout 5 "$B"/$wrong </dev/null >"$work/log" 2>&1; check "$wrong" $? 2
done

# ---- mini_redis: more in tests/mini_redis.sh
if have redis-cli mini_redis && start redis "$B/mini_redis" --port 0 --maxclients 3; then
    cli() { redis-cli -p $port "$@"; }
    check "SET" "$(cli set greeting hello)" OK
    check "GET" "$(cli get greeting)" hello
    check "INCR" "$(cli incr n)" 1
    cli --csv subscribe news >"$work/news" 2>&1 & reader=$!; started="$started $reader"
    for i in $(seq 50); do grep -q subscribe "$work/news" && break; sleep 0.05; done
    check "PUBLISH" "$(cli publish news extra)" 1
    for i in $(seq 50); do grep -q extra "$work/news" && break; sleep 0.05; done
    contains "the message" "$(cat "$work/news")" '"message","news","extra"'
    kill $reader; wait $reader 2>/dev/null
    stop mini_redis $pid redis
fi
if have redis-cli "mini_redis, SHUTDOWN" && start redis2 "$B/mini_redis" --port 0; then
    cli shutdown nosave >/dev/null 2>&1
    for i in $(seq 200); do kill -0 $pid 2>/dev/null || break; sleep 0.02; done
    wait $pid; check "SHUTDOWN: exit status" $? 0
fi

# ---- chat
if have nc chat && start chat "$B/chat" 0; then
    mkfifo "$work/ann" "$work/bob"
    nc 127.0.0.1 $port <"$work/ann" >"$work/ann.out" & ann=$!
    nc 127.0.0.1 $port <"$work/bob" >"$work/bob.out" & bob=$!
    started="$started $ann $bob"
    exec 3>"$work/ann" 4>"$work/bob"
    until_in() { for i in $(seq 100); do grep -q "$2" "$work/$1.out" && { pass; return; }; sleep 0.03; done; cp "$work/$1.out" "$work/log"; fail "chat: $1 does not read '$2'"; }
    echo ann >&3; until_in ann 'ann is here'
    echo ann >&4; until_in bob 'taken'
    echo bob >&4; until_in ann 'bob is here'
    echo 'good morning' >&4; until_in ann '^<bob> good morning$'
    echo '/me waves' >&3; until_in bob '^\* ann waves$'
    echo '/names' >&3; until_in ann 'here:.*bob'
    printf 'a\033[2Jb\n' >&3; until_in bob '^<ann> a?\[2Jb$'
    printf 'c\302\23331md\n' >&3; until_in bob '?31md$'
    printf '\303\200 la carte\n' >&3; until_in bob "$(printf '\303\200') la carte$"
    contains "what is asked last is answered" "$(printf 'eve\n/names\n/quit\n' | nc -q 2 -w 5 127.0.0.1 $port)" "* here:"
    head -c 3000 /dev/zero | tr '\0' x >&3; echo >&3; until_in ann 'too long'
    echo '/quit' >&4; until_in ann 'bob has left'
    exec 4>&-
    stop chat $pid chat
    until_in ann 'the chat closes'
    exec 3>&-
    for p in $ann $bob; do kill $p 2>/dev/null; wait $p 2>/dev/null; done
fi

# ---- dns_lookup
check "numeric and local names" "$("$B/dns_lookup" 127.0.0.1:80 '[::1]:53' ::1 | sed 's/ *(.*//' | sort | tr '\n' ';')" "127.0.0.1:80: 127.0.0.1:80;::1: [::1]:0;[::1]:53: [::1]:53;"
"$B/dns_lookup" localhost >/dev/null; check "localhost" $? 0
"$B/dns_lookup" -t 5000 no-such-name.invalid >/dev/null; check "a name that is not there" $? 1
if [ -z "$ASAN" ] && have cc "a resolver that hangs"; then
    echo '#include <unistd.h>
        int getaddrinfo(void) { sleep(9); return -2; }' | cc -shared -fPIC -fno-builtin -x c - -o "$work/hangs.so"
    LD_PRELOAD="$work/hangs.so" timeout 5 "$B/dns_lookup" -t 50 somewhere >"$work/log" 2>&1; check "nobody waits for a resolver that hangs" $? 1
fi

# ---- game_loop: it checks itself, and is the same each time
"$B/game_loop" --headless --frames 300 >"$work/log" 2>&1; check "a game of 300 frames" $? 0
contains "its checks" "$(cat "$work/log")" "as it should be"
"$B/game_loop" --headless --frames 300 >"$work/again" 2>&1; cmp -s "$work/log" "$work/again"; check "the same game again" $? 0
"$B/game_loop" --frames 60 >"$work/screen" 2>&1; check "a second of it on the screen" $? 0
contains "the stage" "$(cat "$work/screen")" "@"

# ---- foreign_loop
timeout 20 "$B/foreign_loop" --check >"$work/log" 2>&1; check "crt in a loop of poll()" $? 0
contains "its checks" "$(cat "$work/log")" "as it should be"
mkfifo "$work/lines"
timeout 20 "$B/foreign_loop" 99999 </dev/null >"$work/log" 2>&1; check "a port that is none" $? 2
if have nc "foreign_loop with nc"; then
    "$B/foreign_loop" 0 <"$work/lines" >"$work/loop" 2>&1 & loop=$!; started="$started $loop"
    exec 5>"$work/lines"
    for i in $(seq 100); do port=$(sed -n 's/^127\.0\.0\.1:\([0-9]*\).*/\1/p' "$work/loop"); [ -n "$port" ] && break; sleep 0.05; done
    nc 127.0.0.1 "$port" >"$work/heard" </dev/null 5>&- & ear=$!; started="$started $ear"
    for i in $(seq 100); do echo "a line" >&5; grep -q 'a line' "$work/heard" && break; sleep 0.05; done
    contains "nc hears what comes in" "$(cat "$work/heard")" "a line"
    printf 'the last' >&5
    exec 5>&-; wait $loop; check "it ends with its input" $? 0
    wait $ear
    contains "the last line needs no end" "$(cat "$work/heard")" "the last"
    contains "and says what it did" "$(cat "$work/loop")" "lines to 1 listeners"
fi

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
