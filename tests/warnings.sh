#!/bin/sh
# Both halves of crt.h and a user's file under every warning that DESIGN names, as
# errors: gcc and clang, -O0 to -O3, C11 and C++17. Types that would lose CRT_PENDING
# are rejected. Nothing without the prefix leaks. A compiler that is missing is skipped
# with a line that says so.
#   warnings.sh [gcc|clang]      both families of compilers, side by side
if [ $# = 0 ]; then
    of_clang=$(mktemp) || exit 1
    trap 'rm -f "$of_clang"' EXIT INT TERM
    sh "$0" clang >"$of_clang" 2>&1 & clang=$!
    of_gcc=$(sh "$0" gcc 2>&1)
    wait $clang
    { printf '%s\n' "$of_gcc"; cat "$of_clang"; } | awk '
        /^[0-9]+ passed, [0-9]+ failed$/ { passed += $1; failed += $3; sums++; next }
        { print }
        END {
            if (sums != 2) { print "FAILED: a family of compilers came to no end"; failed++ }
            printf "%d passed, %d failed\n", passed, failed
            exit failed != 0
        }'
    exit
fi
case $1 in gcc) ccs=gcc cxxs=g++ ;; clang) ccs=clang cxxs=clang++ ;; *) echo "warnings.sh [gcc|clang]" >&2; exit 2 ;; esac
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT INT TERM
passed=0; failed=0
both="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wimplicit-fallthrough -Wundef -Werror"
c_flags="$both -Wstrict-prototypes"

ok()   { passed=$((passed + 1)); }
bad()  { failed=$((failed + 1)); echo "FAILED $1"; [ -s "$tmp/log" ] && head -n 15 "$tmp/log"; }
have() { command -v "$1" >/dev/null 2>&1 || { echo "skipped: $1 is missing"; return 1; }; }
# accepts NAME COMMAND...: it has to succeed and say nothing
accepts() {
    name=$1; shift
    if "$@" >"$tmp/log" 2>&1 && [ ! -s "$tmp/log" ]; then ok; else bad "$name: $*"; fi
}
# rejects NAME TEXT COMMAND...: it has to fail, and the message to contain TEXT
rejects() {
    name=$1; text=$2; shift 2
    if "$@" >"$tmp/log" 2>&1; then : >"$tmp/log"; bad "$name was accepted: $*"
    elif grep -q "$text" "$tmp/log"; then ok
    else bad "$name was rejected, but not with \"$text\": $*"; fi
}

# ---- the files

printf '#include "crt.h"\n' >"$tmp/public.c"
cp "$tmp/public.c" "$tmp/public.cc"
printf '#define CRT_IMPLEMENTATION\n#include "crt.h"\n' >"$tmp/impl.c"
# The way that needs a feature macro: standard headers come first.
printf '#include <stdio.h>\n#include <string.h>\n#define CRT_IMPLEMENTATION\n#include "crt.h"\n' >"$tmp/late.c"

# A user's file with every macro of the public half.
cat >"$tmp/user.c" <<'END'
#include "crt.h"
typedef struct child {
    crt_frame co;
    int n;
    crt_poll r;
} child;
static crt_poll child_run(void *frame, crt_cx *cx)
{
    child *self = frame;
    CRT_BEGIN(self, cx);
    CRT_YIELD();
    if (self->n < 0) CRT_PANIC(cx, "n is %d", self->n);
    if (self->n == 0) CRT_PANIC(cx, "n is zero");
    CRT_RETURN(self->n);
    CRT_FINALLY
        CRT_AWAIT(crt_yield_now(cx));
        if (self->n == 3) CRT_RETURN(0);
    CRT_END;
}
static crt_poll plain_run(void *frame, crt_cx *cx)   /* no cleanup, no return */
{
    child *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_US(5)));
    CRT_END;
}
static crt_poll empty_run(void *frame, crt_cx *cx)
{
    CRT_BEGIN((child *)frame, cx);
    CRT_FINALLY
    CRT_END;
}
static crt_poll by_hand(void *frame, crt_cx *cx)
{
    child *self = frame;
    if (crt_take_unwind(cx)) return CRT_UNWIND;
    return self->n > 5 ? crt_panic(cx, "%s", "too large") : self->n ? CRT_PENDING : 0;
}
static intptr_t job(void *arg) { return arg != NULL; }
typedef struct user {
    crt_frame co;
    child a, b;
    int i;
    long l;
    long long ll;
    ptrdiff_t d;
    crt_poll r;
    intptr_t result;
    crt_join_handle *join;
    CRT_SELECT(3) sel;
    CRT_SELECT(2) inner;
    crt_timer timer, timer2;
    crt_stream *s;
    crt_listener *listener;
    crt_addr addr;
    crt_local_set set;
    char buf[16];
} user;
static CRT_TASK_STORAGE(child) storage;
static struct { char c; CRT_TASK_STORAGE(child) inside; } nested;
static crt_poll user_run(void *frame, crt_cx *cx)
{
    user *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->i = (int)child_run(&self->a, cx));
    CRT_AWAIT(self->l = (long)child_run(&self->a, cx));
    CRT_AWAIT(self->ll = child_run(&self->a, cx));
    CRT_AWAIT(self->d = child_run(&self->a, cx));
    CRT_AWAIT(self->r = crt_read(cx, self->s, self->buf, sizeof self->buf));
    CRT_AWAIT(plain_run(&self->b, cx));
    CRT_AWAIT(empty_run(&self->b, cx));
    CRT_AWAIT(by_hand(&self->b, cx));
    if (crt_spawn(cx, child_run, &(child){ .n = 1, .r = 0 }) < 0) CRT_RETURN(CRT_ENOMEM);
    if (crt_spawn(cx, child_run, (&(child){ .n = 1, .r = 0 })) < 0) CRT_RETURN(CRT_ENOMEM);
    if (crt_spawn(cx, child_run, NULL) < 0) CRT_RETURN(CRT_ENOMEM);
    if (crt_spawn_join(cx, &self->join, child_run, &self->a)) CRT_RETURN(-1);
    CRT_AWAIT(self->r = crt_join(cx, &self->join, &self->result));
    if (crt_spawn_local(cx, child_run, &(child){ .n = 1 })) CRT_RETURN(-1);
    if (crt_spawn_local_join(cx, &self->join, child_run, &(child){ .n = 1 })) CRT_RETURN(-1);
    if (crt_spawn_in(cx, &storage, &self->join, child_run, &(child){ .n = 1 })) CRT_RETURN(-1);
    if (crt_spawn_in(cx, &nested.inside, NULL, child_run, &(child){ .n = 1 })) CRT_RETURN(-1);
    if (crt_spawn_ex(cx, &(crt_task_desc){ .fn = child_run, .frame = &self->a, .size = sizeof self->a, .name = "u" }))
        CRT_RETURN(-1);
    if (crt_local_set_spawn(cx, &self->set, child_run, &(child){ .n = 1 })) CRT_RETURN(-1);
    if (crt_local_set_spawn_join(cx, &self->set, &self->join, child_run, &(child){ .n = 1 })) CRT_RETURN(-1);
    CRT_AWAIT(crt_local_set_join(cx, &self->set));
    if (crt_spawn_blocking(cx, NULL, job, NULL)) CRT_RETURN(-1);
    CRT_AWAIT(self->r = crt_select(cx, &self->sel,
        crt_on(cx, 0, child_run(&self->a, cx)),
        crt_on(cx, 1, crt_timeout(cx, &self->timer, CRT_MS(5), crt_read(cx, self->s, self->buf, 1))),
        crt_on_if(cx, 2, self->i > 1, crt_sleep(cx, CRT_SEC(1)))));
    CRT_AWAIT(self->r = crt_select_biased(cx, &self->inner,
        crt_on(cx, 0, crt_join_all(cx, &self->sel,
            crt_on(cx, 0, child_run(&self->a, cx)),
            crt_on(cx, 1, crt_unconstrained(cx, crt_consume_budget(cx))))),
        crt_on(cx, 1, self->l = (long)crt_yield_now(cx))));
    CRT_AWAIT(self->r = crt_try_join(cx, &self->inner,
        crt_on(cx, 0, child_run(&self->a, cx)),
        crt_on(cx, 1, crt_timeout_at(cx, &self->timer2, crt_now(cx), crt_yield_now(cx)))));
    if (self->i) {
        CRT_AWAIT(crt_yield_now(cx));
    } else if (self->l)
        CRT_AWAIT(crt_yield_now(cx));
    else
        CRT_YIELD();
    for (self->i = 0; self->i < 3; self->i++) CRT_YIELD();
    while (self->i--)
        CRT_AWAIT(crt_sleep(cx, CRT_NS(1)));
    if (crt_local_addr(self->s, &self->addr) || crt_local_addr(self->listener, &self->addr)) CRT_RETURN(-2);
    if (crt_peer_addr(self->s, &self->addr)) CRT_RETURN(-2);
    CRT_FINALLY
        crt_close(&self->s);
        crt_close(&self->listener);
    CRT_END;
}
CRTDEF int from_a_handle(crt_handle *h);
CRTDEF int from_a_handle(crt_handle *h)
{
    crt_join_handle *join;
    if (crt_handle_spawn(h, child_run, &(child){ .n = 2 })) return 1;
    if (crt_handle_spawn_join(h, &join, child_run, &(child){ .n = 2 })) return 1;
    return crt_join_blocking(&join, NULL);
}
CRT_MAIN(user_run, user)
END
# It has to compile as its own translation unit and together with the implementation.
sed 's/^CRTDEF int from/int from/' "$tmp/user.c" >"$tmp/user2.c" && mv "$tmp/user2.c" "$tmp/user.c"
{ echo '#define CRT_STATIC'; echo '#define CRT_IMPLEMENTATION'; sed 's/^int from/static int from/' "$tmp/user.c"; } >"$tmp/one.c"

# ---- silence

for cc in $ccs; do
    have $cc || continue
    for o in -O0 -O1 -O2 -O3; do
        accepts "public half" $cc -std=c11 $c_flags $o -I"$top" -c "$tmp/public.c" -o "$tmp/public.o"
        accepts "implementation" $cc -std=c11 $c_flags $o -I"$top" -c "$tmp/impl.c" -o "$tmp/impl.$cc$o.o"
        accepts "a user's file" $cc -std=c11 $c_flags $o -I"$top" -c "$tmp/user.c" -o "$tmp/user.$cc$o.o"
        accepts "linking" $cc "$tmp/user.$cc$o.o" "$tmp/impl.$cc$o.o" -o "$tmp/user" -pthread
    done
    for option in -DCRT_USE_COUNTER -DCRT_DEBUG -DNDEBUG; do
        accepts "implementation with $option" $cc -std=c11 $c_flags $option -O2 -I"$top" -c "$tmp/impl.c" -o "$tmp/x.o"
        accepts "a user's file with $option" $cc -std=c11 $c_flags $option -O2 -I"$top" -c "$tmp/user.c" -o "$tmp/x.o"
    done
    for left_out in CRT_NO_NET CRT_NO_FS CRT_NO_PROCESS CRT_NO_THREADS "CRT_NO_NET CRT_NO_FS" \
        "CRT_NO_NET CRT_NO_FS CRT_NO_PROCESS CRT_NO_THREADS" CRT_ENABLE_TRACE; do
        # shellcheck disable=SC2046,SC2086   # lists of flags
        accepts "implementation with $left_out" $cc -std=c11 $c_flags $(printf -- '-D%s ' $left_out) -O0 -I"$top" -c "$tmp/impl.c" -o "$tmp/x.o"
    done
    accepts "implementation after other headers" $cc -std=c11 $c_flags -D_GNU_SOURCE -O1 -I"$top" -c "$tmp/late.c" -o "$tmp/x.o"
    accepts "public half as C17 and GNU" $cc -std=gnu17 $c_flags -I"$top" -c "$tmp/public.c" -o "$tmp/x.o"
done
for cc in $ccs; do
    have $cc >/dev/null || continue
    # All in one file, static: what is not used there is no warning either.
    accepts "CRT_STATIC" $cc -std=c11 $c_flags -Wno-unused-function -O1 -I"$top" -c "$tmp/one.c" -o "$tmp/one.$cc.o"
done
# A file of C++ with what is spawned there.
cat >"$tmp/spawns.cc" <<'END'
#include <string>
#ifdef AS_C
extern "C" {
#include "crt.h"
}
#else
#include "crt.h"
#endif
struct plain { crt_frame co; int n; plain() : co(), n(3) {} };
struct owner { crt_frame co; std::string name; };
crt_poll run(void *, crt_cx *);
template <class T> int spawn(crt_cx *cx, T &frame) { return crt_spawn(cx, run, &frame); }
int all(crt_cx *cx, const plain *constant, plain (&several)[2], void *untyped, owner &o, crt_stream *s);
int all(crt_cx *cx, const plain *constant, plain (&several)[2], void *untyped, owner &o, crt_stream *s)
{
    plain p;
    (void)o, (void)untyped;
    crt_close(&s);
    return crt_spawn(cx, run, constant) + crt_spawn(cx, run, several) + crt_spawn(cx, run, nullptr) +
           crt_spawn(cx, run, NULL) + crt_spawn(cx, run, untyped) + spawn(cx, p)
#ifdef OWNER
           + crt_spawn(cx, run, &o)
#endif
        ;
}
END
cp "$tmp/impl.c" "$tmp/impl.cc"
for cxx in $cxxs; do
    have $cxx || continue
    accepts "frames of C++" $cxx -std=c++17 $both -I"$top" -c "$tmp/spawns.cc" -o "$tmp/x.o"
    accepts "included as C" $cxx -std=c++17 $both -DAS_C -I"$top" -c "$tmp/spawns.cc" -o "$tmp/x.o"
    rejects "a frame with a destructor" "copied as bytes" $cxx -std=c++17 -DOWNER -I"$top" -c "$tmp/spawns.cc" -o "$tmp/x.o"
    rejects "the implementation as C++" "CRT_IMPLEMENTATION as C" $cxx -std=c++17 -I"$top" -c "$tmp/impl.cc" -o "$tmp/x.o"
    for o in -O0 -O1 -O2 -O3; do
        accepts "public half as C++17" $cxx -std=c++17 $both $o -I"$top" -c "$tmp/public.cc" -o "$tmp/x.o"
        accepts "coroutines in C++17" $cxx -std=c++17 $both $o -I"$top" -c "$here/cpp_compile.cc" -o "$tmp/cpp.$cxx$o.o"
    done
    accepts "coroutines in C++20" $cxx -std=c++20 $both -I"$top" -c "$here/cpp_compile.cc" -o "$tmp/x.o"
    accepts "coroutines with CRT_USE_COUNTER" $cxx -std=c++17 $both -DCRT_USE_COUNTER -I"$top" -c "$here/cpp_compile.cc" -o "$tmp/x.o"
    for o in -O0 -O2; do
        cc=gcc; [ $cxx = clang++ ] && cc=clang
        [ -f "$tmp/impl.$cc$o.o" ] || continue
        accepts "C++ with a C implementation" $cxx "$tmp/cpp.$cxx$o.o" "$tmp/impl.$cc$o.o" -o "$tmp/cpp" -pthread
        accepts "the C++ program runs" timeout 20 "$tmp/cpp"
    done
done

# ---- types that would lose CRT_PENDING

# write_await TYPE SUFFIX: a file that awaits that type
write_await() {
    cat >"$tmp/type.$2" <<END
#include "crt.h"
#include <stdint.h>
typedef struct f { crt_frame co; } f;
static $1 gives(void) { return ($1)0; }
crt_poll f_run(void *frame, crt_cx *cx);
crt_poll f_run(void *frame, crt_cx *cx)
{
    CRT_BEGIN((f *)frame, cx);
    CRT_AWAIT(gives());
    CRT_END;
}
END
}
for cc in $ccs $cxxs; do
    have $cc >/dev/null || continue
    case $cc in *++) std=c++17; suffix=cc ;; *) std=c11; suffix=c ;; esac
    for type in int long "long long" crt_poll intptr_t ptrdiff_t int64_t; do
        write_await "$type" $suffix
        accepts "await of $type" $cc -std=$std $both -I"$top" -c "$tmp/type.$suffix" -o "$tmp/x.o"
    done
    for type in short int8_t "signed char" bool unsigned "unsigned short" "unsigned long" size_t uint32_t uint64_t \
                uint8_t float double; do
        # char is left out: its sign is the platform's
        write_await "$type" $suffix
        rejects "await of $type" "CRT_AWAIT needs a signed integer" $cc -std=$std -w -I"$top" -c "$tmp/type.$suffix" -o "$tmp/x.o"
    done
    # what is assigned counts, not what was called
    write_await int $suffix
    sed 's/CRT_AWAIT(gives())/short s; CRT_AWAIT(s = (short)gives())/; s/CRT_BEGIN((f \*)frame, cx);/CRT_BEGIN((f *)frame, cx); {/; s/CRT_END;/} CRT_END;/' \
        "$tmp/type.$suffix" >"$tmp/narrow.$suffix"
    rejects "await into a short" "CRT_AWAIT needs a signed integer" $cc -std=$std -w -fpermissive -I"$top" -c "$tmp/narrow.$suffix" -o "$tmp/x.o"
    # two awaits on one line cannot be told apart
    sed 's/CRT_AWAIT(gives());/CRT_AWAIT(gives()); CRT_AWAIT(gives());/' "$tmp/type.$suffix" >"$tmp/twice.$suffix"
    rejects "two awaits on one line" "duplicate case" $cc -std=$std -w -I"$top" -c "$tmp/twice.$suffix" -o "$tmp/x.o"
    accepts "two awaits on one line with CRT_USE_COUNTER" $cc -std=$std $both -DCRT_USE_COUNTER -I"$top" -c "$tmp/twice.$suffix" -o "$tmp/x.o"
done

# ---- a frame that does not begin with a crt_frame: an error with CRT_DEBUG

for cc in $ccs; do
    have $cc >/dev/null || continue
    for first in "crt_frame co;" "child base;" "int n; crt_frame co;" "struct inner *in; crt_frame co;" "child *c; crt_frame co;"; do
        cat >"$tmp/first.c" <<END
#include "crt.h"
typedef struct child { crt_frame co; long n; } child;
typedef struct f { $first char *text; double d[3]; } f;
crt_poll f_run(void *frame, crt_cx *cx);
crt_poll f_run(void *frame, crt_cx *cx)
{
    f *self = frame;
    CRT_BEGIN(self, cx);
    self->text = 0;
    CRT_END;
}
END
        case $first in
        crt_frame*|child\ base*) accepts "frame with $first" $cc -std=c11 $c_flags -DCRT_DEBUG -I"$top" -c "$tmp/first.c" -o "$tmp/x.o" ;;
        *) rejects "frame with $first" "crt__f\|CRT_BEGIN" $cc -std=c11 -DCRT_DEBUG -I"$top" -c "$tmp/first.c" -o "$tmp/x.o" ;;
        esac
    done
done

# ---- a forgotten await

for cc in $ccs $cxxs; do
    have $cc >/dev/null || continue
    case $cc in *++) std=c++17; suffix=cc ;; *) std=c11; suffix=c ;; esac
    for wait in "crt_sleep(cx, CRT_MS(1))" "crt_consume_budget(cx)" "crt_read(cx, 0, 0, 0)" "crt_mutex_lock(cx, 0)" \
                "crt_timeout(cx, (crt_timer *)0, CRT_MS(1), crt_sleep(cx, 1))" \
                "crt_join_all(cx, &self->sel, crt_on(cx, 0, crt_sleep(cx, 1)))"; do
        cat >"$tmp/bare.$suffix" <<END
#include "crt.h"
typedef struct f { crt_frame co; CRT_SELECT(1) sel; } f;
crt_poll f_run(void *frame, crt_cx *cx);
crt_poll f_run(void *frame, crt_cx *cx)
{
    f *self = (f *)frame;
    CRT_BEGIN(self, cx);
    AWAIT($wait);
    CRT_END;
}
END
        accepts "awaited $wait" $cc -std=$std $both "-DAWAIT=CRT_AWAIT" -I"$top" -c "$tmp/bare.$suffix" -o "$tmp/x.o"
        rejects "forgotten $wait" "unused-result" $cc -std=$std -Werror=unused-result "-DAWAIT(x)=x" -I"$top" -c "$tmp/bare.$suffix" -o "$tmp/x.o"
    done
done

# ---- files that do not go together

for cc in $ccs; do
    [ -f "$tmp/impl.$cc-O0.o" ] || continue
    accepts "a user's file that counts" $cc -std=c11 -DCRT_USE_COUNTER -I"$top" -c "$tmp/user.c" -o "$tmp/counter.o"
    rejects "states counted in two ways" crt__trap $cc "$tmp/counter.o" "$tmp/impl.$cc-O0.o" -o "$tmp/x" -pthread
    mkdir -p "$tmp/newer"
    sed 's/^#define CRT_VERSION_MINOR .*/#define CRT_VERSION_MINOR 99/' "$top/crt.h" >"$tmp/newer/crt.h"
    accepts "a user's file of another version" $cc -std=c11 -I"$tmp/newer" -c "$tmp/user.c" -o "$tmp/newer.o"
    rejects "two versions" crt__trap_0_99 $cc "$tmp/newer.o" "$tmp/impl.$cc-O0.o" -o "$tmp/x" -pthread
done
: >"$tmp/log"

# ---- names

for cc in $ccs; do
    [ -f "$tmp/impl.$cc-O0.o" ] || continue
    nm -g --defined-only "$tmp/impl.$cc-O0.o" | awk '{ print $3 }' | grep -v '^crt_' >"$tmp/log"
    if [ -s "$tmp/log" ]; then bad "$cc: symbols without the prefix"; else ok; fi
    : >"$tmp/log"
    # every function that is declared is there
    $cc -std=c11 -I"$top" -E -P "$tmp/public.c" | tr '\n' ' ' | tr ';{}' '\n\n\n' | grep -E '^ *extern ' |
        grep -oE 'crt_[A-Za-z0-9_]+\(' | tr -d '(' | sort -u >"$tmp/functions"
    nm -g --defined-only "$tmp/impl.$cc-O0.o" | awk '{ print $3 }' | sort -u | comm -23 "$tmp/functions" - >"$tmp/log"
    if [ -s "$tmp/log" ]; then bad "$cc: declared, but not there"; else ok; fi
    : >"$tmp/log"
    if [ "$(wc -l <"$tmp/functions")" -gt 100 ]; then ok; else bad "$cc: too few declarations were found to check"; fi
    nm -g --defined-only "$tmp/one.$cc.o" 2>/dev/null | awk '{ print $3 }' | grep -v '^main$' >"$tmp/log"
    if [ -s "$tmp/log" ]; then bad "$cc: CRT_STATIC leaves global symbols"; else ok; fi
    # macros: what crt.h adds to what its system headers define
    sed -n '1,/^#if defined(CRT_IMPLEMENTATION) && !defined(CRT__IMPLEMENTED)/p' "$top/crt.h" |
        grep -E '^ *# *include *<' >"$tmp/system.c"
    $cc -std=c11 -dM -E "$tmp/system.c" 2>/dev/null | awk '{ print $2 }' | sort -u >"$tmp/before"
    $cc -std=c11 -I"$top" -dM -E "$tmp/public.c" | awk '{ print $2 }' | sort -u >"$tmp/after"
    comm -13 "$tmp/before" "$tmp/after" | grep -vE '^(CRT_|crt_|CRTDEF)' >"$tmp/log"
    if [ -s "$tmp/log" ]; then bad "$cc: macros without the prefix"; else ok; fi
    : >"$tmp/log"
done
: >"$tmp/log"
# typedefs, tags, functions and enumerators of the public half
if [ $ccs = gcc ] && have gcc; then
    gcc -std=c11 -I"$top" -E -P "$tmp/public.c" >"$tmp/with.i"
    gcc -std=c11 -E -P "$tmp/system.c" >"$tmp/without.i"
    words() { tr -c 'A-Za-z0-9_' '\n' <"$1" | grep -E '^[A-Za-z_]' | sort -u; }
    # identifiers at file scope: typedef names, functions, tags
    grep -oE '^(typedef )?(struct|union|enum) [A-Za-z_0-9]+ *\{|^\} *[A-Za-z_0-9]+;|^typedef [^{}]*;|^(extern|static inline) [^{};]*\(' "$tmp/with.i" |
        sed -E 's/\(\*([A-Za-z_0-9]+)\).*/ \1/; s/ *[({;].*//; s/;$//; s/^\} *//; s/ *\{$//' | awk '{ print $NF }' |
        sed 's/^\**//' | sort -u >"$tmp/declared"
    words "$tmp/without.i" >"$tmp/system.words"
    comm -23 "$tmp/declared" "$tmp/system.words" | grep -vE '^(crt_|CRT_)' >"$tmp/log"
    if [ -s "$tmp/log" ]; then bad "declarations without the prefix"; else ok; fi
    if [ "$(grep -c '^crt_' "$tmp/declared")" -gt 80 ]; then ok; else bad "too few declarations were found to check"; fi
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
