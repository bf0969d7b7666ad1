// The tests' own atomics are gcc's builtins; tcc has none, and crt.h makes its own there.
// Included before everything else (tcc -include), expanded after crt.h.
#define __ATOMIC_RELAXED 0
#define __ATOMIC_ACQUIRE 1
#define __ATOMIC_RELEASE 2
#define __ATOMIC_ACQ_REL 3
#define __ATOMIC_SEQ_CST 4
#define __atomic_load_n(p, o) crt__atomic_load((p), o)
#define __atomic_store_n(p, v, o) crt__atomic_store((p), (v), o)
#define __atomic_exchange_n(p, v, o) crt__atomic_xchg((p), (v), o)
#define __atomic_fetch_add(p, v, o) crt__atomic_add((p), (v), o)
#define __atomic_fetch_sub(p, v, o) crt__atomic_sub((p), (v), o)
#define __atomic_fetch_or(p, v, o) crt__atomic_or((p), (v), o)
#define __atomic_add_fetch(p, v, o) (crt__atomic_add((p), (v), o) + (v))
#define __atomic_sub_fetch(p, v, o) (crt__atomic_sub((p), (v), o) - (v))
#define __atomic_compare_exchange_n(p, e, v, w, o, f) crt__atomic_cas((p), (e), (v), o, f)
