# Sourced by run.sh and check.sh: where things are, building, and how each program is started.
# shellcheck shell=sh disable=SC2034,SC2086,SC2154  # lists of words are kept in plain variables and split on purpose

BUILD=${BUILD:-$here/build}
mkdir -p "$BUILD" && BUILD=$(cd "$BUILD" && pwd) || exit 1
CC=${CC:-cc}
CXX=${CXX:-c++}
default_cflags="-std=c11 -D_GNU_SOURCE -O2 -DNDEBUG"
CFLAGS=${CFLAGS:-$default_cflags}
PATH=$PATH:/sbin:/usr/sbin   # ldconfig
log=$BUILD/build.log
: >"$log"

note() { echo "${0##*/}: $*" >&2; }
# What should have run and did not: said at once, and again at the end.
failures=$BUILD/failures.txt
: >"$failures"
failed() { note "$*"; echo "$*" >>"$failures"; }
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a compiler's command line unless its result is there, from the same command and no older than any source.
build() { # result, command...
    result=$1
    shift
    if [ -f "$result" ] && [ "$(cat "$result.how" 2>/dev/null)" = "$*" ] &&
        [ -z "$(find "$here" "${here%/*}"/crt*.h -path "$here/build" -prune -o -name '*.[ch]*' -newer "$result" -print)" ]; then
        return 0
    fi
    "$@" -o "$result" >>"$log" 2>&1 && echo "$*" >"$result.how"
}

compile() { # name, source, libraries...
    result=$BUILD/$1 source=$here/$2
    shift 2
    build "$result" $CC $CFLAGS "$source" "$@" -pthread
}

# alloc_count.so, whose path is then in $counter.
build_counter() {
    counter=
    if build "$BUILD/alloc_count.so" $CC -O2 -shared -fPIC "$here/alloc_count.c"; then
        counter=$BUILD/alloc_count.so
    else
        note "allocations: not counted, alloc_count.c does not build, see $log"
    fi
}

build_tokio() {
    if ! have cargo; then
        note "tokio: skipped; apt-get install cargo librust-tokio-dev librust-libc-dev"
        return
    fi
    # a copy, so that Cargo.lock is not written here
    if ! { mkdir -p "$BUILD/tokio" && cp -Rp "$here/tokio/." "$BUILD/tokio" &&
        (cd "$BUILD/tokio" && CARGO_TARGET_DIR=$BUILD/cargo cargo build --release --offline) >>"$log" 2>&1; }; then
        note "tokio: does not build, see $log; apt-get install cargo librust-tokio-dev librust-libc-dev"
        return
    fi
    peers="$peers tokio"
    tokio_version=$(awk '/^name = "tokio"$/ { getline; print $3 }' "$BUILD/tokio/Cargo.lock" | tr -d '"')
    for name in jemalloc mimalloc; do
        case $name in jemalloc) package=libjemalloc2 ;; mimalloc) package=libmimalloc2.0 ;; esac
        lib=$(ldconfig -p 2>/dev/null | awk -v lib="lib$name" 'index($1, lib ".so") == 1 { print $NF; exit }')
        if [ -z "$lib" ]; then note "tokio+$name: skipped; apt-get install $package"
        elif [ "$mode" != quick ] || [ $name = jemalloc ]; then
            peers="$peers tokio+$name"
            eval "$name=\$lib"
        fi
    done
}

build_go() {
    if ! have go; then note "go: skipped; apt-get install golang-go"
    elif (cd "$here/go" && GO111MODULE=on GOFLAGS=-mod=mod GOPROXY=off CGO_ENABLED=0 GOCACHE=$BUILD/gocache \
        go build -o "$BUILD/go-bench" .) >>"$log" 2>&1; then peers="$peers go"
    else note "go: does not build, see $log"; fi
}

build_uv() {
    if ! printf '#include <uv.h>\n' | $CC -E - >/dev/null 2>&1; then note "libuv: skipped; apt-get install libuv1-dev"
    elif compile uv_peer uv_peer.c -luv; then peers="$peers libuv"
    else note "libuv: does not build, see $log; apt-get install libuv1-dev"; fi
}

build_asio() {
    if ! printf '#include <boost/asio.hpp>\n' | $CXX -x c++ -fsyntax-only - >/dev/null 2>&1; then
        note "asio: skipped; apt-get install g++ libboost-dev"
    elif build "$BUILD/asio_peer" $CXX -std=c++17 -O2 -DNDEBUG "$here/asio_peer.cpp" -pthread; then
        peers="$peers asio"
    else
        note "asio: does not build, see $log"
    fi
}

program_of() { # peer
    case $1 in
    crt*)   echo "$BUILD/bench_core" ;;
    tokio*) echo "$BUILD/cargo/release/tokio-bench" ;;
    go)     echo "$BUILD/go-bench" ;;
    libuv)  echo "$BUILD/uv_peer" ;;
    asio)   echo "$BUILD/asio_peer" ;;
    epoll)  echo "$BUILD/epoll_echo" ;;
    esac
}

# Becomes the program of that column. $within is "timeout N" or the like, or nothing; $preload a library, or nothing.
# exec, so that $! is the program.
run() { # peer, arguments...
    case $1 in
    tokio+jemalloc) allocator=$jemalloc ;;
    tokio+mimalloc) allocator=$mimalloc ;;
    *)              allocator= ;;
    esac
    program=$(program_of "$1")
    shift
    set -- "$program" "$@"
    [ -z "$preload$allocator" ] || set -- env LD_PRELOAD="$preload $allocator" ALLOC_COUNT_OUT="$BUILD/count.out" "$@"
    cd "$BUILD" && exec $within "$@"
}

server=
stop_server() {
    [ -n "$server" ] || return 0
    kill "$server" 2>/dev/null
    wait "$server" 2>/dev/null
    server=
}
trap stop_server EXIT
trap 'exit 130' INT TERM

# Starts that peer's server; $port is then where it listens. Not 0: it has no such server, or does not start.
start_server() { # peer, workload, arguments...
    said=$BUILD/server.out
    : >"$said"
    run "$@" port=0 life=120 >"$said" 2>>"$log" &
    server=$!
    tries=0
    until grep -q listening "$said"; do
        tries=$((tries + 1))
        if [ $tries -gt 100 ] || ! kill -0 "$server" 2>/dev/null; then
            wait "$server" 2>/dev/null
            [ $? -eq 3 ] || failed "$*: the server does not start, see $log"
            stop_server
            return 1
        fi
        sleep 0.05
    done
    port=$(sed -n 's/^listening .*://p' "$said")
}
