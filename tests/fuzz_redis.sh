#!/bin/sh
# Fuzzes examples/mini_redis.c with ASan and UBSan: its parser and commands with libFuzzer
# where clang has it, and the whole program over loopback sockets.
#   tests/fuzz_redis.sh [SECONDS for each] [SEED]        CORPUS=directory to keep what is found
cd "$(dirname "$0")/.." || exit 1
B=${B:-.build}
secs=${1:-60}
corpus=${CORPUS:-$B/fuzz_redis_corpus}
mkdir -p "$B" "$corpus" || exit 1
failed=0
echo 'int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { (void)d, (void)n; return 0; }' >"$B/fuzz_redis_probe.c"
if ! clang -fsanitize=fuzzer,address,undefined "$B/fuzz_redis_probe.c" -o "$B/fuzz_redis_probe" 2>"$B/fuzz_redis.log"; then
    echo "skipped: libFuzzer (apt-get install clang libclang-rt-14-dev)"; head -n 3 "$B/fuzz_redis.log"
elif ! clang -std=c11 -D_GNU_SOURCE -DLIBFUZZER -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I. \
    tests/fuzz_redis.c -o "$B/fuzz_redis_lib" -pthread 2>"$B/fuzz_redis.log"; then
    echo "FAILED: the half for libFuzzer does not compile"; head -n 10 "$B/fuzz_redis.log"; failed=1
else
    # The seeds of the file itself, each with a byte in front that says how it is cut up.
    n=0
    for text in 'PING\r\nSET a 1 EX 10 NX\r\nINCR a\r\nGET a\r\n' '*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nhello\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n' \
        'PING\r\nFLUSHALL\000\000\000\000\r\nPING\r\n' \
        'MSET a 1 b 2\r\nMGET a b c\r\nDEL a\r\nEXISTS a b\r\nAPPEND b x\r\nSTRLEN b\r\nTYPE b\r\n' \
        'SUBSCRIBE a\r\nPSUBSCRIBE b*\r\nPING\r\nUNSUBSCRIBE\r\nPUNSUBSCRIBE\r\nPUBLISH a b\r\n' \
        'HELLO 2 SETNAME x\r\nCLIENT GETNAME\r\nCONFIG GET m*\r\nCOMMAND\r\nEXPIRE a 5\r\nTTL a\r\nPTTL a\r\nPERSIST a\r\nKEYS a[b-c]?*\r\nDBSIZE\r\nFLUSHALL\r\nQUIT\r\n'; do
        n=$((n + 1)); printf "\\003$text" >"$corpus/seed$n"
    done
    if timeout $((secs + 60)) "$B/fuzz_redis_lib" -max_total_time="$secs" -max_len=4096 -timeout=10 -rss_limit_mb=1024 \
        -artifact_prefix="$B/fuzz_redis_" -print_final_stats=1 "$corpus" >"$B/fuzz_redis.log" 2>&1; then
        grep -E 'number_of_executed_units|peak_rss_mb' "$B/fuzz_redis.log"
    else
        tail -n 40 "$B/fuzz_redis.log"; failed=1
    fi
fi
${CC:-cc} -std=c11 -D_GNU_SOURCE -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -I. \
    tests/fuzz_redis.c -o "$B/fuzz_redis" -pthread || exit 1
ASAN_OPTIONS=quarantine_size_mb=64 timeout $((secs + 60)) "$B/fuzz_redis" "$secs" ${2:+"$2"} || failed=1
exit $failed
