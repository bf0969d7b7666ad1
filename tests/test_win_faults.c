// crt_platform_iocp.h while its calls to Windows fail, each in turn: every one gives an error
// or does no harm, and no handle, no memory and no child is left behind.
//
// The n-th of the calls below fails, for each n until a run passes without a fault; then the
// n-th allocation.
#ifdef _WIN32
#include <winsock2.h>
#include <ws2tcpip.h>
#include <process.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <windows.h>

static long calls, fail_at, allocs, alloc_fail_at, alloc_live;   // atomic; fail_at 0: never
static const char *failed_call = "";
static bool fails(const char *name)
{
    long n = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (n != __atomic_load_n(&fail_at, __ATOMIC_SEQ_CST)) return false;
    failed_call = name;
    SetLastError(ERROR_NO_SYSTEM_RESOURCES);
    errno = EAGAIN;
    return true;
}
static void *faulty_malloc(size_t n)
{
    if (__atomic_add_fetch(&allocs, 1, __ATOMIC_SEQ_CST) == __atomic_load_n(&alloc_fail_at, __ATOMIC_SEQ_CST)) return NULL;
    __atomic_fetch_add(&alloc_live, 1, __ATOMIC_SEQ_CST);
    return malloc(n);
}
static void faulty_free(void *p)
{
    if (p) __atomic_fetch_sub(&alloc_live, 1, __ATOMIC_SEQ_CST);
    free(p);
}
#define CRT_MALLOC(n) faulty_malloc(n)
#define CRT_FREE(p) faulty_free(p)
static DWORD may_run;   // threads beside each other, of the last port
#define CreateIoCompletionPort(f, p, k, n) \
    (fails("CreateIoCompletionPort") ? NULL : (may_run = (p) ? may_run : (n), CreateIoCompletionPort(f, p, k, n)))
#define PostQueuedCompletionStatus(p, n, k, o) (fails("Post") ? FALSE : PostQueuedCompletionStatus(p, n, k, o))
#define CreateNamedPipeW(a, b, c, d, e, f, g, h) \
    (fails("CreateNamedPipeW") ? INVALID_HANDLE_VALUE : CreateNamedPipeW(a, b, c, d, e, f, g, h))
#define CreateFileW(a, b, c, d, e, f, g) (fails("CreateFileW") ? INVALID_HANDLE_VALUE : CreateFileW(a, b, c, d, e, f, g))
#define DuplicateHandle(a, b, c, d, e, f, g) (fails("DuplicateHandle") ? FALSE : DuplicateHandle(a, b, c, d, e, f, g))
#define CreateProcessW(a, b, c, d, e, f, g, h, i, j) \
    (fails("CreateProcessW") ? FALSE : CreateProcessW(a, b, c, d, e, f, g, h, i, j))
#define CreateJobObjectW(a, b) (fails("CreateJobObjectW") ? NULL : CreateJobObjectW(a, b))
#define AssignProcessToJobObject(j, p) (fails("AssignProcessToJobObject") ? FALSE : AssignProcessToJobObject(j, p))
#define ResumeThread(t) (fails("ResumeThread") ? (DWORD)-1 : ResumeThread(t))
#define UpdateProcThreadAttribute(a, b, c, d, e, f, g) \
    (fails("UpdateProcThreadAttribute") ? FALSE : UpdateProcThreadAttribute(a, b, c, d, e, f, g))
#define RegisterWaitForSingleObject(a, b, c, d, e, f) \
    (fails("RegisterWait") ? FALSE : RegisterWaitForSingleObject(a, b, c, d, e, f))
#define GetEnvironmentStringsW() (fails("GetEnvironmentStringsW") ? NULL : GetEnvironmentStringsW())
#define WSASocketW(a, b, c, d, e, f) (fails("WSASocketW") ? (WSASetLastError(WSAENOBUFS), INVALID_SOCKET) : WSASocketW(a, b, c, d, e, f))
#define ioctlsocket(s, c, v) (fails("ioctlsocket") ? (WSASetLastError(WSAENOBUFS), SOCKET_ERROR) : ioctlsocket(s, c, v))
#define WriteFile(a, b, c, d, e) (fails("WriteFile") ? FALSE : WriteFile(a, b, c, d, e))
#define _beginthreadex(a, b, c, d, e, f) (fails("_beginthreadex") ? (uintptr_t)0 : _beginthreadex(a, b, c, d, e, f))
#define ReadFile(a, b, c, d, e) (fails("ReadFile") ? FALSE : ReadFile(a, b, c, d, e))
#define CRT_IMPLEMENTATION
#include "crt.h"
#undef ResumeThread
#undef CreateFileW
#undef DuplicateHandle
#undef WriteFile
#undef ReadFile
#undef ioctlsocket
#include "harness.h"

static LONG(NTAPI *true_create)(HANDLE *, ULONG, OBJECT_ATTRIBUTES *, IO_STATUS_BLOCK *, LARGE_INTEGER *, ULONG, ULONG,
                                ULONG, ULONG, void *, ULONG);
static LONG NTAPI faulty_create(HANDLE *h, ULONG a, OBJECT_ATTRIBUTES *b, IO_STATUS_BLOCK *c, LARGE_INTEGER *d, ULONG e,
                                ULONG f, ULONG g, ULONG i, void *j, ULONG k)
{
    return fails("NtCreateFile") ? (LONG)0xC000009A : true_create(h, a, b, c, d, e, f, g, i, j, k);
}
static LONG(NTAPI *true_control)(HANDLE, HANDLE, void *, void *, void *, ULONG, void *, ULONG, void *, ULONG);
static LONG NTAPI faulty_control(HANDLE a, HANDLE b, void *c, void *d, void *e, ULONG f, void *g, ULONG h, void *i, ULONG j)
{
    return fails("NtDeviceIoControlFile") ? (LONG)0xC000009A : true_control(a, b, c, d, e, f, g, h, i, j);
}

static const char *self_path;
typedef struct scene {
    crt_frame co;
    crt_stream *rx, *tx, *a, *b, *out;
    crt_process *p;
    crt_process_desc desc;
    crt_exit_status status;
    crt_timer timer;
    crt_poll r;
    char c, said[8];
} scene;
#define MUST(...)                              \
    CRT_AWAIT(self->r = (__VA_ARGS__));        \
    if (self->r < 0) CRT_RETURN(self->r)
static crt_poll scene_run(void *arg, crt_cx *cx)
{
    static const char *const env[] = {"CRT_TEST_X=yes", "CRT_TEST_Y", NULL};
    static const char *argv[] = {NULL, "--child", NULL};
    scene *self = arg;
    CRT_BEGIN(self, cx);
    MUST(crt_pipe(cx, &self->rx, &self->tx));
    MUST(crt_write_all(cx, self->tx, "x", 1));
    MUST(crt_read(cx, self->rx, &self->c, 1));
    MUST(crt_stream_pair(cx, &self->a, &self->b));
    MUST(crt_write_all(cx, self->a, "y", 1));
    MUST(crt_timeout(cx, &self->timer, CRT_SEC(20), crt_read(cx, self->b, &self->c, 1)));
    argv[0] = self_path;
    self->desc = (crt_process_desc){.argv = argv, .env = env, .kill_on_drop = true, .out.kind = CRT_STDIO_PIPE,
                                    .in.kind = CRT_STDIO_NULL};
    MUST(crt_process_spawn(cx, &self->desc, &self->p));
    self->out = crt_process_take_stdout(self->p);
    MUST(crt_read_exact(cx, self->out, self->said, 6));
    CHECK(!memcmp(self->said, "yes/no", 6));   // never with another environment
    MUST(crt_timeout(cx, &self->timer, CRT_SEC(20), crt_process_wait(cx, self->p, &self->status)));
    CHECK_EQ(self->status.code, 5);
    CRT_RETURN(0);
    CRT_FINALLY
        crt_close(&self->rx);
        crt_close(&self->tx);
        crt_close(&self->a);
        crt_close(&self->b);
        crt_close(&self->out);
        crt_process_close(&self->p);
    CRT_END;
}
static crt_poll play(void)
{
    crt_runtime *rt;
    scene *s = calloc(1, sizeof *s);
    crt_config c = {.flavor = CRT_CURRENT_THREAD, .log.func = test_log};
    crt_poll r = crt_runtime_new(&c, &rt);
    test_log_clear();
    if (r == 0) {
        r = crt_block_on(rt, scene_run, s);
        CHECK_EQ(crt_runtime_shutdown(rt, CRT_SEC(20)), 0);
        crt_runtime_drop(&rt);
    } else {
        CHECK(!rt);
    }
    free(s);
    return r;
}
// All that are open: of processes, jobs, threads, ports and devices too.
static int handles(void)
{
    int n = 0;
    for (intptr_t h = 4, last = 4; h <= last + 2048; h += 4) {
        DWORD flags;
        if (!GetHandleInformation((HANDLE)h, &flags)) continue;
        n++;
        last = h;
    }
    return n;
}
// `counted` counts to `at`.
static void sweep(long *counted, long *at, int least)
{
    int told = 0;
    long n, live;
    CHECK_EQ(play(), 0);   // opens what the process keeps
    live = alloc_live;
    int fds = test_fd_count();
    int before = handles(), after;
    for (n = 1; n < 1000 && !test__bad; n++) {
        failed_call = "an allocation";
        __atomic_store_n(counted, 0, __ATOMIC_SEQ_CST);
        __atomic_store_n(at, n, __ATOMIC_SEQ_CST);
        test__set_alarm(test_patience(60));
        crt_poll r = play();
        bool fired = __atomic_load_n(counted, __ATOMIC_SEQ_CST) >= n;
        __atomic_store_n(at, 0, __ATOMIC_SEQ_CST);
        CHECK(r == 0 || (r < 0 && fired));
        told += r < 0;
        CHECK_EQ(alloc_live, live);
        CHECK_EQ(test_fd_count(), fds);
        if (test__bad) fprintf(stderr, "  number %ld, %s: %s\n", n, failed_call, crt_err_name((int)r));
        if (!fired) break;
    }
    for (int i = 0; (after = handles()) > before && i < 100; i++) test_pause_us(20000);   // the system's threads end late
    CHECK(before > 0 && after <= before);
    if (getenv("TEST_NAMES")) fprintf(stderr, "handles: %d, then %d; %ld runs\n", before, after, n);
    CHECK(n < 1000);
    CHECK(told >= least);
}
static void each_call_fails(void) { sweep(&calls, &fail_at, 15); }
static void each_allocation_fails(void) { sweep(&allocs, &alloc_fail_at, 15); }

// wine lets all of them run, whatever it is asked for; Windows would keep events from those that wait while one
// that has waited there computes.
static void every_worker_may_run_beside_the_driver(void)
{
    crt_runtime *rt;
    may_run = 0;
    CHECK_EQ(crt_runtime_new(&(crt_config){.worker_threads = 2}, &rt), 0);
    CHECK(may_run >= 1024);
    crt_runtime_drop(&rt);
}
// Nor does wine have its limit of 260 units for a path that is not of the long form.
static void is_path(const char *path, bool deep, const wchar_t *begins, const wchar_t *ends)
{
    wchar_t *wide = crt__win_path_as(path, deep);
    size_t n = wide ? wcslen(wide) : 0, k = wcslen(ends);
    CHECK(wide && !wcsncmp(wide, begins, wcslen(begins)) && n >= k && !wcscmp(wide + n - k, ends));
    if (wide) CRT_FREE(wide);
}
static void what_lies_below_a_path_may_be_long(void)
{
    char name[240];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    is_path("C:\\deep", true, L"\\\\?\\C:\\deep", L"");
    is_path("C:/deep/", true, L"\\\\?\\C:\\deep", L"deep");
    is_path("C:\\", true, L"\\\\?\\C:\\", L"C:\\");
    is_path("\\\\host\\share\\x", true, L"\\\\?\\UNC\\host\\share\\x", L"");
    is_path("\\\\?\\C:\\x", true, L"\\\\?\\C:\\x", L"");
    is_path("deep", true, L"\\\\?\\", L"\\deep");
    is_path("C:\\short", false, L"C:\\short", L"");
    is_path("short", false, L"short", L"short");
    is_path(name, false, L"\\\\?\\", L"xxx");   // short, but not from the root
}
static void an_environment_is_sorted_and_without_gaps(void)
{
    static const char *const env[] = {"b=2", "", "C=3", "A=1", "=", NULL};
    static const wchar_t want[] = L"A=1\0b=2\0C=3\0";
    wchar_t *block = NULL;
    CHECK_EQ(crt__win_env(&(crt_process_desc){.env = env, .env_clear = true}, &block), 0);
    CHECK(block && !memcmp(block, want, sizeof want));
    if (block) CRT_FREE(block);
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--child")) {
        const char *x = getenv("CRT_TEST_X");
        printf("%s/%s", x ? x : "no", getenv("CRT_TEST_Y") ? "yes" : "no");
        return 5;
    }
    (void)test__on_each;
    self_path = argv[0];
    SetEnvironmentVariableA("CRT_TEST_X", "another");
    SetEnvironmentVariableA("CRT_TEST_Y", "there");
    test_init(argc, argv);
    CHECK_EQ(crt__net_begin(), 0);
    true_create = crt__afd.create;
    true_control = crt__afd.control;
    crt__afd.create = faulty_create;
    crt__afd.control = faulty_control;
    TEST(each_call_fails);
    TEST(each_allocation_fails);
    TEST(every_worker_may_run_beside_the_driver);
    TEST(what_lies_below_a_path_may_be_long);
    TEST(an_environment_is_sorted_and_without_gaps);
    return test_end();
}
#else
#include <stdio.h>
int main(void)
{
    puts("skipped: the calls are those of Windows\n0 passed, 0 failed");
    return 0;
}
#endif
