#!/bin/sh
# crt without threads and without an operating system: examples/cortex_m built for a
# Cortex-M3 and run in qemu, which prints what the program prints (semihosting).
#     sh tests/bare.sh         B=dir: where to build
cd "$(dirname "$0")/.." || exit 1
B=${B:-.build}/bare
CC=${ARM_CC:-arm-none-eabi-gcc}
QEMU=${QEMU_ARM:-qemu-system-arm}
for tool in "$CC" "$QEMU"; do
    command -v "$tool" >/dev/null && continue
    echo "bare: skipped, there is no $tool (apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm)"
    exit 0
done
mkdir -p "$B"
passed=0; failed=0
WARN="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wimplicit-fallthrough -Wstrict-prototypes -Wundef"
LINK="-nostartfiles --specs=nano.specs --specs=nosys.specs -Wl,--gc-sections -T examples/cortex_m/an385.ld"
pass() { passed=$((passed + 1)); }
fail() { echo "FAILED: $1"; failed=$((failed + 1)); }

build() {   # build NAME FLAGS...: silent, or it fails; the linker's word on what nosys lacks does not count
    name=$1; shift
    # shellcheck disable=SC2086   # lists of flags
    "$CC" -mthumb -std=c11 -g $WARN -ffunction-sections -fdata-sections -Iexamples/cortex_m "$@" \
        -c examples/cortex_m/main.c -o "$B/$name.o" 2>"$B/$name.log" && [ ! -s "$B/$name.log" ] &&
        "$CC" -mthumb "$@" "$B/$name.o" -o "$B/$name.elf" $LINK 2>"$B/$name.link" && pass && return
    fail "$name does not build in silence"; head -n 20 "$B/$name.log" "$B/$name.link"
    return 1
}
run() {   # run NAME CPU'S MACHINE: a status of 0 and a sum without failures
    timeout -k 2 60 "$QEMU" -M "$2" -nographic -monitor none -serial none -semihosting-config enable=on,target=native \
        -icount shift=4,sleep=off -kernel "$B/$1.elf" </dev/null >"$B/$1.out" 2>&1
    code=$?
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$B/$1.out" | tail -n 1)
    if [ $code != 0 ] || [ -z "$line" ]; then fail "$1: exit status $code"; cat "$B/$1.out"; return; fi
    passed=$((passed + ${line%% passed*}))
    pass   # the exit status
}

if build m3 -mcpu=cortex-m3 -Os; then
    run m3 mps2-an385
    grep -v 'passed' "$B/m3.out"
    "${CC%gcc}size" "$B/m3.elf"
fi
# Optimised harder, and not at all: what depends on the order of accesses shows there.
build m3_O2 -mcpu=cortex-m3 -O2 && run m3_O2 mps2-an385
build m3_O0 -mcpu=cortex-m3 -O0 && run m3_O0 mps2-an385
# A processor without instructions for atomics: the same code, for the M0.
build m0 -mcpu=cortex-m0 -Os && run m0 mps2-an385

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
