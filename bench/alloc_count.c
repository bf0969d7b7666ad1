// Counts what a program asks its allocator for, whichever that is:
//
//   cc -O2 -shared -fPIC -o alloc_count.so alloc_count.c
//   LD_PRELOAD=./alloc_count.so program        (before another preloaded allocator, if there is one)
//
// The bytes that it holds: the program finds alloc_count_live_bytes by dlsym. A block counts with its usable size,
// that is, with what the allocator rounded the request up to, but without the allocator's own header.
//
// How often it asked: ALLOC_COUNT_OUT=file has the number written there when the program ends, by itself or by
// SIGTERM (a server).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_size_t live, calls;

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    int (*posix_memalign)(void **, size_t, size_t);
    void (*free)(void *);
    size_t (*usable_size)(void *);
} next;

static void find(void *function, const char *name)   // *function: a pointer to a function
{
    void *symbol = dlsym(RTLD_NEXT, name);
    memcpy(function, &symbol, sizeof symbol);
}

// dlsym may allocate before there is anything to allocate from. Such blocks stay; they are few.
static max_align_t first_aid[256];
static size_t first_aid_used;

static void *first_aid_alloc(size_t n)   // zeroed
{
    n = (n + sizeof *first_aid - 1) / sizeof *first_aid;
    if (n > sizeof first_aid / sizeof *first_aid - first_aid_used) return NULL;
    void *p = first_aid + first_aid_used;
    first_aid_used += n;
    return p;
}

static int is_first_aid(const void *p)
{
    uintptr_t at = (uintptr_t)p;
    return at >= (uintptr_t)first_aid && at < (uintptr_t)first_aid + sizeof first_aid;
}

static int ready(void)   // the first call comes from the loader, before there are threads
{
    static int state;
    if (state == 0) {
        state = 1;
        find(&next.malloc, "malloc");
        find(&next.calloc, "calloc");
        find(&next.realloc, "realloc");
        find(&next.posix_memalign, "posix_memalign");
        find(&next.free, "free");
        find(&next.usable_size, "malloc_usable_size");
        state = 2;
    }
    return state == 2;
}

static void *counted(void *p)
{
    if (p) atomic_fetch_add_explicit(&live, next.usable_size(p), memory_order_relaxed);
    atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
    return p;
}

static void uncount(void *p)
{
    if (p) atomic_fetch_sub_explicit(&live, next.usable_size(p), memory_order_relaxed);
}

size_t alloc_count_live_bytes(void)
{
    return atomic_load_explicit(&live, memory_order_relaxed);
}

void *malloc(size_t n)
{
    return ready() ? counted(next.malloc(n)) : first_aid_alloc(n);
}

void *calloc(size_t count, size_t n)
{
    return ready() ? counted(next.calloc(count, n)) : first_aid_alloc(count * n);
}

void *realloc(void *p, size_t n)
{
    if (!ready()) return NULL;
    if (is_first_aid(p)) {
        size_t rest = sizeof first_aid - (size_t)((char *)p - (char *)first_aid);
        void *moved = malloc(n);
        if (moved) memcpy(moved, p, n < rest ? n : rest);
        return moved;
    }
    size_t was = p ? next.usable_size(p) : 0;
    void *q = next.realloc(p, n);
    if (q || !n) atomic_fetch_sub_explicit(&live, was, memory_order_relaxed);
    return counted(q);
}

int posix_memalign(void **p, size_t align, size_t n)
{
    if (!ready()) return ENOMEM;
    int e = next.posix_memalign(p, align, n);
    if (!e) counted(*p);
    return e;
}

void *aligned_alloc(size_t align, size_t n)
{
    void *p = NULL;
    errno = posix_memalign(&p, align < sizeof p ? sizeof p : align, n);
    return errno ? NULL : p;
}

void *memalign(size_t align, size_t n)
{
    return aligned_alloc(align, n);
}

void free(void *p)
{
    if (!p || is_first_aid(p) || !ready()) return;
    uncount(p);
    next.free(p);
}

static int out = -1;

static void write_calls(void)   // async-signal-safe
{
    char digits[24], *at = digits + sizeof digits;
    *--at = '\n';
    for (size_t n = atomic_load(&calls); n || at[0] == '\n'; n /= 10) *--at = (char)('0' + n % 10);
    if (out < 0 || write(out, at, (size_t)(digits + sizeof digits - at)) < 0) return;
}

static void on_term(int sig)
{
    (void)sig;
    write_calls();
    _exit(0);
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("ALLOC_COUNT_OUT");
    if (!path) return;
    out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    signal(SIGTERM, on_term);
}

__attribute__((destructor)) static void end(void)
{
    write_calls();
}
