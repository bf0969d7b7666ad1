// Counts the bytes that a program holds from its allocator, whichever that is:
//
//   cc -O2 -shared -fPIC -o alloc_count.so alloc_count.c
//   LD_PRELOAD=./alloc_count.so program        (before another preloaded allocator, if there is one)
//
// The program finds alloc_count_live_bytes by dlsym. A block counts with its usable size, that is, with what
// the allocator rounded the request up to, but without the allocator's own header.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static atomic_size_t live;

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
