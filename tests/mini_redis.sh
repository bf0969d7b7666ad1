#!/bin/sh
# examples/mini_redis held against what Redis does, and against a real redis-server beside
# it where there is one.
#   tests/mini_redis.sh            semantics, line by line with redis-cli
#   tests/mini_redis.sh bench      and the table: redis-benchmark, -P 1 and -P 16, both
#                                  servers in turn, ROUNDS times (3), REQUESTS each (200000)
cd "$(dirname "$0")/.." || exit 1
B=${B:-.build}
command -v redis-cli >/dev/null || { echo "skipped: redis-cli is missing (apt-get install redis-tools)"; echo "0 passed, 0 failed"; exit 0; }
MAKEFLAGS= make -s "$B/mini_redis" B="$B" || exit 1
work=$(mktemp -d) || exit 1
passed=0; failed=0; ours=; theirs=; our_pid=; their_pid=
pass() { passed=$((passed + 1)); }
letters() { head -c "$1" /dev/zero | tr '\0' "$2"; }   # that many times the letter
fail() { echo "FAILED: $1"; failed=$((failed + 1)); }
cleanup() { for p in $our_pid $their_pid; do kill -9 "$p" 2>/dev/null; done; rm -rf "$work"; }
trap cleanup EXIT

ready() {   # ready NAME: the port that the server with this output listens on
    for i in $(seq 100); do
        port=$(sed -n 's/^ready on 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$work/$1" 2>/dev/null)
        [ -n "$port" ] && { echo $port; return; }
        sleep 0.05
    done
}
"$B/mini_redis" --port 0 >"$work/ours" 2>&1 &
our_pid=$!
ours=$(ready ours)
[ -n "$ours" ] || { cat "$work/ours"; echo "0 passed, 1 failed"; exit 1; }
if command -v redis-server >/dev/null; then
    for try in 1 2 3 4 5; do
        theirs=$((20000 + ($$ * 13 + try * 97) % 10000))
        redis-server --port $theirs --bind 127.0.0.1 --save "" --appendonly no --dir "$work" --logfile "$work/theirs" >/dev/null 2>&1 &
        their_pid=$!
        for i in $(seq 50); do [ "$(redis-cli -p $theirs ping 2>/dev/null)" = PONG ] && break 2; kill -0 $their_pid 2>/dev/null || break; sleep 0.1; done
        kill -9 $their_pid 2>/dev/null; theirs=
    done
fi
[ -n "$theirs" ] || echo "no redis-server: what ours answers is compared with this file alone (apt-get install redis-server)"

# Each line: a command | its answer as redis-cli --csv prints it, or ~ and a part of it.
# "=" before it: Redis answers the same, word for word. Times are waited for by WAIT.
script() { cat <<'LINES'
=FLUSHALL | OK
=PING | "PONG"
=PING hello | "hello"
=PING a b | ~wrong number of arguments for 'ping' command
=ECHO "two words" | "two words"
=ECHO | ~wrong number of arguments for 'echo' command
=GET none | NULL
=SET a 1 | OK
=GET a | "1"
=GET | ~wrong number of arguments for 'get' command
=SET a | ~wrong number of arguments for 'set' command
=SET a 2 NX | NULL
=SET b 2 NX | OK
=SET c 3 XX | NULL
=SET a 3 XX | OK
=SET a 4 NX XX | ~ERR syntax error
=SET a 4 EX 0 | ~ERR invalid expire time in 'set' command
=SET a 4 EX -1 | ~ERR invalid expire time in 'set' command
=SET a 4 EX ten | ~ERR value is not an integer or out of range
=SET a 4 EX | ~ERR syntax error
=SET a 4 EX 10 PX 10 | ~ERR syntax error
=SET a 4 EX 10 KEEPTTL | ~ERR syntax error
=SET a 4 EX 9223372036854775807 | ~ERR invalid expire time in 'set' command
=SET a 4 NOSUCH | ~ERR syntax error
=GET a | "3"
=SET a 5 GET | "3"
=SET fresh 5 GET | NULL
=GET fresh | "5"
=SET a 6 EX 100 | OK
=TTL a | 100
=SET a 7 KEEPTTL | OK
=TTL a | 100
=SET a 8 | OK
=TTL a | -1
=TTL none | -2
=PTTL none | -2
=PTTL a | -1
=set a 9 px 100000 get | "8"
=TTL a | 100
=PERSIST a | 1
=PERSIST a | 0
=PERSIST none | 0
=EXPIRE a 50 | 1
=TTL a | 50
=PEXPIRE a 40000 | 1
=TTL a | 40
=EXPIRE none 50 | 0
=EXPIRE a ten | ~ERR value is not an integer or out of range
=EXPIRE a 9223372036854775807 | ~ERR invalid expire time in 'expire' command
=EXPIRE a ten NOSUCH | ~ERR Unsupported option NOSUCH
=EXPIRE a 9999999999 | 1
=EXPIRE a -1 | 1
=GET a | NULL
=SET late v EX 9999999999 | OK
=SET late v PX 9223372036854775 | OK
=SET late v PX 9223372036854775807 | ~ERR invalid expire time in 'set' command
=GET late | "v"
=EXPIRE late -9223372036854775807 | ~ERR invalid expire time in 'expire' command
=EXPIRE late -9999999999 | 1
=EXISTS late | 0
=EXPIRE b 0 | 1
=EXISTS b | 0
=SET short x PX 400 | OK
=EXISTS short | 1
WAIT 0.6
=GET short | NULL
=EXISTS short | 0
=TYPE short | none
=INCR n | 1
=INCR n | 2
=INCRBY n 40 | 42
=DECR n | 41
=DECRBY n 42 | -1
=INCRBY n -9 | -10
=INCRBY n 1.5 | ~ERR value is not an integer or out of range
=SET n 9223372036854775807 | OK
=INCR n | ~ERR increment or decrement would overflow
=GET n | "9223372036854775807"
=SET n -9223372036854775808 | OK
=DECR n | ~ERR increment or decrement would overflow
=DECRBY n -9223372036854775808 | ~ERR decrement would overflow
=SET n 007 | OK
=INCR n | ~ERR value is not an integer or out of range
=SET n "" | OK
=INCR n | ~ERR value is not an integer or out of range
=SET n " 1" | OK
=INCR n | ~ERR value is not an integer or out of range
=SET n 10 EX 100 | OK
=INCR n | 11
=TTL n | 100
=DEL n | 1
=DEL n none fresh | 1
=UNLINK none | 0
=MSET k1 v1 k2 v2 k3 v3 | OK
=MGET k1 k2 none k3 | "v1","v2",NULL,"v3"
=MSET k1 | ~wrong number of arguments for 'mset' command
=MSET k1 v1 k2 | ~wrong number of arguments for 'mset' command
=MSET same 1 same 2 | OK
=GET same | "2"
=EXISTS k1 k1 none k2 | 3
=EXPIRE k1 100 | 1
=MSET k1 new | OK
=TTL k1 | -1
=APPEND text hello | 5
=APPEND text " world" | 11
=GET text | "hello world"
=STRLEN text | 11
=STRLEN none | 0
=APPEND text "" | 11
=TYPE text | string
=TYPE none | none
=SET empty "" | OK
=GET empty | ""
=STRLEN empty | 0
=SET binary "a\x00b\r\nc" | OK
=STRLEN binary | 6
=GET binary | "a\x00b\r\nc"
=FLUSHALL | OK
=DBSIZE | 0
=MSET hello 1 hallo 1 hxllo 1 hllo 1 heeello 1 h*llo 1 | OK
=DBSIZE | 6
=KEYS hxllo | "hxllo"
=KEYS h[x]llo | "hxllo"
=KEYS h[^aex*]llo | 
=KEYS h\*llo | "h*llo"
=KEYS heee* | "heeello"
=KEYS nothing* | 
=KEYS ?*e*e*e*l[k-m]* | "heeello"
=KEYS *x*l??? | 
=KEYS *\*?l* | "h*llo"
=KEYS h[w-z]llo | "hxllo"
=KEYS h[z-w]llo | "hxllo"
=FLUSHDB ASYNC | OK
=FLUSHALL NOSUCH | ~ERR syntax error
=DBSIZE | 0
=SELECT 0 | OK
=SELECT ten | ~ERR
=SELECT 99 | ~ERR DB index is out of range
=CLIENT SETNAME me | OK
=CLIENT GETNAME | "me"
=CLIENT SETNAME "two words" | ~ERR Client names cannot contain spaces, newlines or special characters.
=HELLO 2 SETNAME you | ~"server","redis"
=CLIENT GETNAME | "you"
=HELLO 4 | ~NOPROTO unsupported protocol version
=HELLO x | ~ERR Protocol version is not an integer or out of range
=CONFIG GET appendonly | "appendonly","no"
=CONFIG GET save | "save",""
=CONFIG GET nosuch | 
=PUBLISH nobody hello | 0
=NOSUCH a | ~ERR unknown command 'NOSUCH', with args beginning with: 'a' 
=NOSUCH a bc 'd e' | ~ERR unknown command 'NOSUCH', with args beginning with: 'a' 'bc' 'd e' 
=NOSUCH | ~ERR unknown command 'NOSUCH', with args beginning with: 
HELLO 3 | ~NOPROTO unsupported protocol version
CLIENT SETINFO LIB-NAME redis-py | OK
CLIENT SETINFO COLOUR red | ~ERR Unrecognized option 'COLOUR'
SELECT 1 | ~ERR DB index is out of range
CONFIG GET maxmemory port* | ~"maxmemory","268435456","port"
CONFIG SET maxmemory 1 | ~ERR CONFIG knows GET only
COMMAND COUNT | 38
COMMAND DOCS GET | 
EXPIRE a 1 NX | ~ERR Unsupported option NX
LINES
}
# One connection each, as CLIENT SETNAME and SELECT are about the connection.
script >"$work/script"
talk() {   # talk PORT FILTER: the answers, a line each
    while IFS= read -r line; do
        case $line in
        WAIT*) sleep "${line#WAIT }"; continue ;;
        "$2"*) line=${line#=}; printf '%s\n' "${line%% |*}" ;;
        esac
    done <"$work/script" | redis-cli --csv -p "$1" 2>&1
}
# (An array without elements prints an empty line; errors, in --csv, as ERROR,"...".)
talk $ours "" >"$work/answers"
sed '/^WAIT/d' "$work/script" >"$work/expected"
exec 3<"$work/expected" 4<"$work/answers"
while IFS= read -r line <&3; do
    IFS= read -r got <&4 || got="(nothing)"
    command=${line%% |*}; want=${line#*| }
    case $want in
    "~"*) case $got in *"${want#\~}"*) pass ;; *) fail "$command: $got, not ...${want#\~}..." ;; esac ;;
    OK|none|string) if [ "$got" = "$want" ] || [ "$got" = "\"$want\"" ]; then pass; else fail "$command: $got, not $want"; fi ;;
    *) if [ "$got" = "$want" ]; then pass; else fail "$command: $got, not $want"; fi ;;
    esac
done
exec 3<&- 4<&-
if [ -n "$theirs" ]; then
    grep '^=\|^WAIT' "$work/script" >"$work/both" && mv "$work/both" "$work/script"
    talk $ours "=" | sed 's/"id",[0-9]*/"id"/; s/"version","[^"]*"/"version"/' >"$work/a"
    talk $theirs "=" | sed 's/"id",[0-9]*/"id"/; s/"version","[^"]*"/"version"/' >"$work/b"
    if diff "$work/a" "$work/b" >"$work/diff"; then
        passed=$((passed + $(wc -l <"$work/a")))
        echo "the same as redis-server $(redis-cli -p $theirs info server | tr -d '\r' | sed -n 's/^redis_version://p') in $(wc -l <"$work/a") answers"
    else
        fail "redis-server answers differently (< ours, > theirs)"; cat "$work/diff"
    fi
fi

redis-cli -p $ours set k v >/dev/null
case $(redis-cli -p $ours info) in *redis_version:*used_memory:*total_commands_processed:*db0:keys=*) pass ;; *) fail INFO ;; esac

# Bytes, not words: what no well-behaved client sends.
raw() { printf "$1" | timeout 5 nc -N 127.0.0.1 $ours | tr -d '\r' | tr '\n' ';'; }
expect() { got=$(raw "$2"); case $got in $3) pass ;; *) fail "$1: '$got', not '$3'" ;; esac; }
if command -v nc >/dev/null; then
    redis-cli -p $ours flushall >/dev/null
    expect "inline commands" 'PING\r\nset k "a\\x41\\n"\r\nSTRLEN k\n\r\nECHO '"'it\\\\'s'"'\r\nQUIT\r\n' '+PONG;+OK;:3;$4;it'"'"'s;+OK;'
    expect "a pipeline" '*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n*0\r\n*-1\r\n*-5\r\n*1\r\n$4\r\nQUIT\r\n' '+PONG;$2;hi;+OK;'
    expect "unbalanced quotes" 'SET a "b\r\n' '-ERR Protocol error: unbalanced quotes in request;'
    expect "too many arguments" '*1000000\r\n' '-ERR Protocol error: invalid multibulk length;'
    expect "not a number" '*x\r\n' '-ERR Protocol error: invalid multibulk length;'
    expect "no bulk" '*1\r\n+PING\r\n' "-ERR Protocol error: expected '$', got '+';"
    expect "a negative bulk" '*1\r\n$-1\r\n' '-ERR Protocol error: invalid bulk length;'
    expect "a line of a multibulk that ends without CR" '*1\r\n$4\nPING\r\n' '-ERR Protocol error: invalid bulk length;'
    expect "too long a bulk" '*2\r\n$3\r\nGET\r\n$536870912\r\n' '-ERR Protocol error: invalid bulk length;'
    expect "a bulk that does not end" '*1\r\n$4\r\nPINGxx' '-ERR Protocol error*'
    expect "a long line" "$(head -c 70000 /dev/zero | tr '\0' a)\r\n" '-ERR Protocol error: too big inline request;'
    expect "subscribers may not get" 'SUBSCRIBE a b\r\nGET k\r\nPING\r\nUNSUBSCRIBE\r\nGET none\r\nQUIT\r\n' \
        '\*3;$9;subscribe;$1;a;:1;\*3;$9;subscribe;$1;b;:2;-ERR Can'"'"'t execute *;\*2;$4;pong;$0;;\*3;$11;unsubscribe;*;:0;$-1;+OK;'
    expect "to oneself, by pattern" 'PSUBSCRIBE n?ws\r\nQUIT\r\n' '\*3;$10;psubscribe;$4;n?ws;:1;+OK;'
    expect "a web page" 'POST / HTTP/1.1\r\nHost: localhost\r\n\r\nPING\r\n' ''
    expect "a web page's second line" 'GET /\r\nHost: localhost\r\n\r\nPING\r\n' '$-1;'
    long=$(letters 257 a)
    expect "long names" "PUBLISH $long x\r\nSUBSCRIBE $long\r\nPSUBSCRIBE $long\r\nQUIT\r\n" \
        '-ERR channel name is longer than 256 bytes;-ERR *too long a name*;-ERR *too long a name*;+OK;'
    names=$(yes a | head -n 1025 | tr '\n' ' ')
    expect "many names" "SUBSCRIBE $names\r\nPUNSUBSCRIBE $names\r\nSUBSCRIBE a a\r\nQUIT\r\n" \
        '-ERR more than 1024 names;-ERR more than 1024 names;\*3;$9;subscribe;$1;a;:1;\*3;$9;subscribe;$1;a;:1;+OK;'
    # What a client makes us keep is counted, arguments too, and given back.
    memory() { redis-cli -p $ours info memory | tr -d '\r' | sed -n 's/^mem_clients_normal://p'; }
    mkfifo "$work/half"
    nc 127.0.0.1 $ours <"$work/half" & half=$!
    exec 5>"$work/half"; (printf '*65536\r\n'; yes '$0__' | head -n 65535 | sed 's/__/\r\n\r/') >&5
    for i in $(seq 50); do [ "$(memory)" -gt 1500000 ] && break; sleep 0.05; done
    if [ $i -lt 50 ]; then pass; else fail "65535 arguments: $(memory) bytes of clients"; fi
    kill $half; wait $half 2>/dev/null; exec 5>&-
    for i in $(seq 50); do [ "$(memory)" -lt 50000 ] && break; sleep 0.05; done
    if [ $i -lt 50 ]; then pass; else fail "$(memory) bytes of clients are not given back"; fi
    # 40 clients that each sent 7 MB once and keep talking do not hold it; who does not end his command
    # has not all of the memory: others can PING, and SET a little.
    (printf '*8\r\n$3\r\nDEL\r\n'; for i in 1 2 3 4 5 6 7; do printf '$1000000\r\n'; letters 1000000 k; printf '\r\n'; done) >"$work/7mb"
    for i in $(seq 40); do (cat "$work/7mb"; for j in $(seq 15); do sleep 0.2; echo PING; done) | nc -q 0 127.0.0.1 $ours >/dev/null & echo $!; done >"$work/holders"
    sleep 1
    for i in $(seq 15); do [ "$(memory)" -lt 30000000 ] && break; sleep 0.1; done
    if [ $i -lt 15 ]; then pass; else fail "clients that have been served hold $(memory) bytes"; fi
    for p in $(cat "$work/holders"); do kill $p; wait $p; done 2>/dev/null
    for n in 6900000 900000 450000 200000 100000 50000 25000 12000 6000 3000; do
        for i in $(seq $([ $n = 6900000 ] && echo 40 || echo 9)); do
            (head -c $n "$work/7mb"; sleep 8) | nc -q 0 127.0.0.1 $ours >/dev/null & echo $!
        done
        [ $n = 6900000 ] && for i in $(seq 30); do [ "$(memory)" -gt 215000000 ] && break; sleep 0.1; done
        sleep 0.3
    done >"$work/holders"
    got="$(redis-cli -p $ours ping) $(redis-cli -p $ours set k "$(letters 50000 v)") $(redis-cli -p $ours strlen k)"
    if [ "$got" = "PONG OK 50000" ]; then pass; else fail "beside 40 unfinished commands: $got"; fi
    for p in $(cat "$work/holders"); do kill $p; wait $p; done 2>/dev/null
    # The clock of a pipeline goes on while its answers wait for their reader.
    redis-cli -p $ours set big "$(letters 120000 x)" >/dev/null
    got=$( (yes 'GET big' | head -n 400; echo SET fresh v PX 1000) >"$work/slow"
        (cat "$work/slow"; sleep 0.5; echo PTTL fresh; echo QUIT) | timeout 20 nc -q 5 127.0.0.1 $ours | (sleep 1.5; tail -n 3 | tr -d '\r' | tr '\n' ';'))
    case $got in '+OK;:'[1-9]*';+OK;') pass ;; *) fail "a key that lives a second, set at the end of a slow pipeline: $got" ;; esac
    # A pipeline whose answers are far more than a socket takes, read late.
    redis-cli -p $ours set big "$(head -c 60000 /dev/zero | tr '\0' x)" >/dev/null
    n=$( (for i in $(seq 2000); do printf 'GET big\r\n'; done; printf 'QUIT\r\n') | timeout 20 nc -q 5 127.0.0.1 $ours | (sleep 0.5; wc -c) )
    if [ "$n" = $((2000 * 60010 + 5)) ]; then pass; else fail "2000 large answers: $n bytes"; fi
    # A subscriber that does not read is cut off; the publisher does not wait for it.
    (printf 'SUBSCRIBE flood\r\n'; sleep 20) | nc -q 0 127.0.0.1 $ours | (sleep 20) & slow=$!
    for i in $(seq 50); do [ "$(redis-cli -p $ours publish flood x)" = 1 ] && break; sleep 0.05; done
    long=$(head -c 60000 /dev/zero | tr '\0' y)
    for i in $(seq 1000); do echo "publish flood $long"; done | redis-cli -p $ours >"$work/published"
    if [ "$(tail -n 1 "$work/published")" = 0 ]; then pass; else fail "a subscriber that does not read is kept"; fi
    kill $slow 2>/dev/null; wait $slow 2>/dev/null
else
    echo "skipped: bytes that no client sends (nc is missing)"
fi
# Full memory: a clear error, reading goes on, deleting helps.
"$B/mini_redis" --port 0 --maxmemory 1000000 --maxclients 2 >"$work/small" 2>&1 & small_pid=$!
small=$(ready small)
(for i in $(seq 200); do echo "set key$i $(head -c 9000 /dev/zero | tr '\0' v)"; done) | redis-cli -p $small >"$work/full" 2>&1
oom=$(grep -c '^OOM command not allowed' "$work/full"); ok=$(grep -c '^OK' "$work/full")
if [ "$ok" -gt 50 ] && [ "$oom" -gt 50 ] && [ $((ok + oom)) = 200 ]; then pass; else fail "maxmemory: $ok set, $oom refused"; fi
if [ "$(redis-cli -p $small strlen key1)" = 9000 ]; then pass; else fail "reading at maxmemory"; fi
redis-cli -p $small del key1 key2 >/dev/null
if [ "$(redis-cli -p $small set again 1)" = OK ]; then pass; else fail "room after DEL"; fi
if command -v nc >/dev/null; then
    sleep 3 | nc 127.0.0.1 $small & a=$!
    sleep 3 | nc 127.0.0.1 $small & b=$!
    sleep 0.3
    case $(redis-cli -p $small ping 2>&1) in *"max number of clients"*|*eset*|*losed*) pass ;; *) fail "a third client is let in" ;; esac
    kill $a $b 2>/dev/null; wait $a $b 2>/dev/null
fi
kill -INT $small_pid; wait $small_pid; if [ $? = 0 ]; then pass; else fail "exit status"; fi

# Patterns that a matcher which tries again would take long for: in keys, and in PUBLISH. Beside
# many of those in a pipeline, on both workers, others are answered, and SIGTERM is heard.
redis-cli -p $ours flushall >/dev/null
(for i in $(seq 10 29); do echo "set $i$(letters 65000 a) x"; done) | redis-cli -p $ours >/dev/null
got=$(redis-cli -p $ours keys "*$(letters 253 a)b*")
if [ -z "$got" ]; then pass; else fail "KEYS, much to try: $got"; fi
soon() {   # soon NAME COMMAND: 2000 of them twice, and PING; then SIGTERM
    for i in 1 2; do (yes "$2" | head -n 2000; sleep 6) | nc -q 0 127.0.0.1 $busy >/dev/null & echo $!; done >"$work/floods"
    sleep 0.5; start=$(date +%s%N)
    got=$(timeout 10 redis-cli -p $busy ping 2>&1); took=$((($(date +%s%N) - start) / 1000000))
    if [ "$got" = PONG ] && [ $took -lt 2000 ]; then pass; else fail "PING beside $1: '$got' after $took ms"; fi
    start=$(date +%s%N); kill $busy_pid
    for i in $(seq 100); do kill -0 $busy_pid 2>/dev/null || break; sleep 0.1; done
    took=$((($(date +%s%N) - start) / 1000000))
    if [ $took -lt 5000 ]; then pass; else fail "SIGTERM beside $1: $took ms"; kill -9 $busy_pid; fi
    wait $busy_pid 2>/dev/null
    for p in $(cat "$work/floods"); do kill $p; wait $p; done 2>/dev/null
}
if command -v nc >/dev/null; then
    "$B/mini_redis" --port 0 --workers 2 >"$work/busy" 2>&1 & busy_pid=$!; busy=$(ready busy)
    (for i in $(seq 10 29); do echo "set $i$(letters 65000 a) x"; done) | redis-cli -p $busy >/dev/null
    soon KEYS "KEYS *$(letters 253 a)b*"
    "$B/mini_redis" --port 0 --workers 2 >"$work/loud" 2>&1 & busy_pid=$!; busy=$(ready loud)
    many=$(letters 120 a)
    for k in $(seq 10 73); do
        (printf PSUBSCRIBE; for i in $(seq 10 73); do printf ' *%s' "$many$k$i"; done; echo; sleep 8) | nc -q 0 127.0.0.1 $busy >/dev/null & echo $!
    done >"$work/ears"
    for i in $(seq 50); do [ "$(redis-cli -p $busy publish "${many}7373" x)" = 1 ] && break; sleep 0.1; done
    soon PUBLISH "PUBLISH $(letters 256 a) x"
    for p in $(cat "$work/ears"); do kill $p; wait $p; done 2>/dev/null
fi
# KEYS takes turns: what is there all the time is seen, and once, while the store grows around it.
(for i in $(seq 30000); do echo "set stay$i x"; done) | redis-cli -p $ours >/dev/null
(for i in $(seq 60000); do echo "set come$i x"; done) | redis-cli -p $ours >/dev/null & growing=$!
for i in 1 2 3 4 5 6; do redis-cli -p $ours keys 'stay*' | sort -u | wc -l; redis-cli -p $ours keys 'stay*' | wc -l; done | sort -u >"$work/seen"
wait $growing
if [ "$(cat "$work/seen")" = 30000 ]; then pass; else fail "KEYS beside SET: $(tr '\n' ' ' <"$work/seen")"; fi
(for i in $(seq 30000); do echo "del stay$i come$i come$((i + 30000))"; done) | redis-cli -p $ours >/dev/null
if [ "$(redis-cli -p $ours keys "*$(letters 50 a)" | wc -l)" = 20 ]; then pass; else fail "KEYS, long keys"; fi
# MSET and FLUSHALL: all or nothing, for those who look on as well.
redis-cli -p $ours -r 3000 mset a 1 b 1 c 1 d 1 e 1 >/dev/null & one=$!
redis-cli -p $ours -r 3000 flushall >/dev/null & two=$!
redis-cli --csv -p $ours -r 3000 mget a b c d e | grep -c 'NULL.*"1"\|"1".*NULL' >"$work/halves"
wait $one $two
halves=$(cat "$work/halves")
if [ "$halves" = 0 ]; then pass; else fail "MGET saw half of an MSET or FLUSHALL $halves times"; fi
"$B/mini_redis" --port 0 --workers 1 --maxmemory 65536 >"$work/tiny" 2>&1 & tiny_pid=$!
tiny=$(ready tiny)
for n in $(seq 600 20 900); do
    redis-cli -p $tiny flushall >/dev/null
    awk -v n=$n 'BEGIN { printf "mset"; for (i = 0; i < n; i++) printf " key%05d %020d", i, 0; print "" }' >"$work/mset"
    got="$(redis-cli -p $tiny <"$work/mset") $(redis-cli -p $tiny dbsize)"
    case $got in "OK $n"|"OOM command not allowed"*" 0") ;; *) echo $n ;; esac
done >"$work/halves"
halves=$(head -n 1 "$work/halves")
if [ -z "$halves" ]; then pass; else fail "MSET at maxmemory: half of $halves keys are set"; fi
if command -v nc >/dev/null; then
    # A message comes before the answer to UNSUBSCRIBE, or not at all: both commands wait when the worker looks.
    mkfifo "$work/ear" "$work/mouth"
    timeout 5 nc 127.0.0.1 $tiny <"$work/ear" >"$work/heard" & ear=$!
    timeout 5 nc 127.0.0.1 $tiny <"$work/mouth" >"$work/said" & mouth=$!
    exec 5>"$work/ear" 6>"$work/mouth"
    echo SUBSCRIBE news >&5; echo PING >&6
    for i in $(seq 50); do [ -s "$work/heard" ] && [ -s "$work/said" ] && break; sleep 0.02; done
    kill -STOP $tiny_pid; sleep 0.05; echo PUBLISH news late >&6; sleep 0.02; echo UNSUBSCRIBE >&5; sleep 0.1
    kill -CONT $tiny_pid; sleep 0.05; echo QUIT >&6; echo QUIT >&5; exec 5>&- 6>&-; wait $ear $mouth
    heard=$(tr -d '\r\n' <"$work/heard")
    case $heard in *late*unsubscribe*:0+OK) pass ;; *) fail "a message and UNSUBSCRIBE: $heard" ;; esac
    # SIGTERM while answers wait that are more than a socket takes: all of them come.
    "$B/mini_redis" --port 0 >"$work/last" 2>&1 & last_pid=$!
    last=$(ready last)
    redis-cli -p $last set big "$(letters 60000 x)" >/dev/null
    (sleep 0.2; kill $last_pid) &
    n=$( (yes 'GET big' | head -n 300) | timeout 20 nc -N 127.0.0.1 $last | (sleep 0.4; wc -c) )
    if [ "$n" = $((300 * 60010)) ]; then pass; else fail "SIGTERM among 300 large answers: $n bytes"; fi
    wait $last_pid; if [ $? = 0 ]; then pass; else fail "exit status after SIGTERM"; fi
fi
kill $tiny_pid; wait $tiny_pid
# Who has read "ready" may stop it; without descriptors for that it does not start.
mkfifo "$work/line"; status=
for i in 1 2 3 4 5 6 7 8; do
    "$B/mini_redis" --port 0 >"$work/line" & last_pid=$!
    exec 5<"$work/line"; read -r line <&5; kill $last_pid; wait $last_pid 2>/dev/null; status=$status$?; exec 5<&-
done
if [ $status = 00000000 ]; then pass; else fail "SIGTERM as soon as it is ready: $status"; fi
for n in 4 5 6 7 8 9 10 11 12; do
    (exec >/dev/null 2>&1; ulimit -n $n; exec timeout 0.1 "$B/mini_redis" --port 0)
    [ $? != 0 ] || echo $n
done >"$work/descriptors"
few=$(head -n 1 "$work/descriptors")
if [ -z "$few" ]; then pass; else fail "with $few descriptors it ends by itself, and with status 0"; fi

# ---- The table
cpu() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }   # in ticks of 10 ms
if [ "$1" = bench ]; then
    command -v redis-benchmark >/dev/null || { echo "skipped: redis-benchmark is missing"; exit 1; }
    rounds=${ROUNDS:-3}; requests=${REQUESTS:-200000}
    for round in $(seq $rounds); do
        for depth in 1 16; do
            for test in ping_mbulk set get incr; do
                for who in ours theirs; do
                    eval port=\$$who; [ -n "$port" ] || continue
                    [ $who = ours ] && pid=$our_pid || pid=$their_pid
                    before=$(cpu $pid)
                    rps=$(redis-benchmark -p $port -t $test -c 200 -n $requests -P $depth --csv 2>/dev/null | tail -n 1 | cut -d, -f2 | tr -d '"')
                    echo "$depth $test $who $rps $((($(cpu $pid) - before) * 10000000 / requests))"
                done
            done
        done
    done >"$work/rounds"
    echo "redis-benchmark -c 200 -n $requests, $rounds rounds in turn: median requests/s (lowest..highest), server CPU ns per request (median)"
    sort -k1,1n -k2,2 -k3,3 -k4,4n "$work/rounds" | awk '
        function flush() { if (n) { m = int((n + 1) / 2); asort_cpu(); printf "  -P %-2s %-10s %-11s %9.0f (%.0f..%.0f)  %6d ns\n", d, t, w == "ours" ? "mini_redis" : "redis", r[m], r[1], r[n], c[m] } n = 0 }
        function asort_cpu(i, j, x) { for (i = 2; i <= n; i++) { x = c[i]; for (j = i - 1; j > 0 && c[j] > x; j--) c[j + 1] = c[j]; c[j + 1] = x } }
        { if ($1 != d || $2 != t || $3 != w) flush(); d = $1; t = $2; w = $3; n++; r[n] = $4; c[n] = $5 }
        END { flush() }'
fi

kill -INT $our_pid; wait $our_pid; if [ $? = 0 ]; then pass; else fail "exit status after SIGINT"; fi
our_pid=
if [ -n "$their_pid" ]; then kill $their_pid; wait $their_pid; their_pid=; fi 2>/dev/null
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
