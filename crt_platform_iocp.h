// crt_platform_iocp.h - crt on Windows 10 and later: completion port, AFD polling
//
// Included by crt.h, never by itself; `>>os` and `>>reactor` in crt.h state the
// contract that this file fulfils. Public domain or MIT-0, as crt.h.
//
// Link with ws2_32 and synchronization (MSVC does so by itself). Paths and names are
// UTF-8. A timer is never early, and as late as the system's clock tick (15.6 ms, or
// what timeBeginPeriod made of it).
//
// Errors of the system come in terms of errno: crt__win_error.

#ifndef CRT__IMPLEMENTED
#error "include crt.h; it chooses its platform header by itself"
#endif
#ifndef CRT_PLATFORM_IOCP_H
#define CRT_PLATFORM_IOCP_H

#include <fcntl.h>
#include <process.h>
#include <wchar.h>
#include <winternl.h>

#ifdef _MSC_VER
#pragma comment(lib, "ws2_32.lib")
#pragma comment(lib, "synchronization.lib")
#endif

// ---------------------------------------------------------------------------
// errors
// ---------------------------------------------------------------------------

// errno for an error of Win32 or Winsock. What has no name of its own is EIO.
static int crt__win_error(DWORD e)
{
    static const struct { uint16_t from; int to; } list[] = {
        {ERROR_FILE_NOT_FOUND, ENOENT}, {ERROR_PATH_NOT_FOUND, ENOENT}, {ERROR_INVALID_DRIVE, ENOENT},
        {ERROR_BAD_NETPATH, ENOENT}, {ERROR_BAD_NET_NAME, ENOENT}, {ERROR_BAD_PATHNAME, ENOENT},
        {ERROR_INVALID_NAME, ENOENT}, {ERROR_NOT_READY, ENOENT}, {ERROR_MOD_NOT_FOUND, ENOENT},
        {ERROR_TOO_MANY_OPEN_FILES, EMFILE}, {ERROR_ACCESS_DENIED, EACCES}, {ERROR_WRITE_PROTECT, EROFS},
        {ERROR_SHARING_VIOLATION, EBUSY}, {ERROR_LOCK_VIOLATION, EBUSY}, {ERROR_BUSY, EBUSY},
        {ERROR_PIPE_BUSY, EBUSY}, {ERROR_CURRENT_DIRECTORY, EBUSY}, {ERROR_USER_MAPPED_FILE, EBUSY},
        {ERROR_INVALID_HANDLE, EBADF}, {ERROR_NOT_ENOUGH_MEMORY, ENOMEM}, {ERROR_OUTOFMEMORY, ENOMEM},
        {ERROR_COMMITMENT_LIMIT, ENOMEM}, {ERROR_NO_SYSTEM_RESOURCES, ENOMEM}, {ERROR_NOT_ENOUGH_QUOTA, ENOMEM},
        {ERROR_NOT_SAME_DEVICE, EXDEV}, {ERROR_FILE_EXISTS, EEXIST}, {ERROR_ALREADY_EXISTS, EEXIST},
        {ERROR_INVALID_PARAMETER, EINVAL}, {ERROR_NEGATIVE_SEEK, EINVAL}, {ERROR_NOT_A_REPARSE_POINT, EINVAL},
        {ERROR_BROKEN_PIPE, EPIPE}, {ERROR_NO_DATA, EPIPE}, {ERROR_BAD_PIPE, EPIPE},
        {ERROR_PIPE_NOT_CONNECTED, EPIPE}, {ERROR_DISK_FULL, ENOSPC}, {ERROR_HANDLE_DISK_FULL, ENOSPC},
        {ERROR_DIR_NOT_EMPTY, ENOTEMPTY}, {ERROR_DIRECTORY, ENOTDIR}, {ERROR_FILENAME_EXCED_RANGE, ENAMETOOLONG},
        {ERROR_BUFFER_OVERFLOW, ENAMETOOLONG}, {ERROR_CALL_NOT_IMPLEMENTED, ENOSYS},
        {ERROR_NOT_SUPPORTED, ENOTSUP}, {ERROR_INVALID_FUNCTION, ENOTSUP}, {ERROR_PRIVILEGE_NOT_HELD, EPERM},
        {ERROR_CANT_RESOLVE_FILENAME, ELOOP}, {ERROR_OPERATION_ABORTED, ECANCELED}, {ERROR_BAD_EXE_FORMAT, ENOEXEC},
        {ERROR_NO_UNICODE_TRANSLATION, EILSEQ}, {ERROR_NETNAME_DELETED, ECONNRESET},
        {ERROR_FILE_TOO_LARGE, EFBIG}, {ERROR_SEM_TIMEOUT, ETIMEDOUT}, {740 /* ERROR_ELEVATION_REQUIRED */, EACCES},
        {ERROR_CANNOT_MAKE, EACCES}, {ERROR_TOO_MANY_LINKS, EMLINK},
        {WSAEINTR, EINTR}, {WSAEBADF, EBADF}, {WSAEACCES, EACCES}, {WSAEFAULT, EFAULT}, {WSAEINVAL, EINVAL},
        {WSAEMFILE, EMFILE}, {WSAEWOULDBLOCK, EAGAIN}, {WSAEINPROGRESS, EINPROGRESS}, {WSAEALREADY, EALREADY},
        {WSAENOTSOCK, ENOTSOCK}, {WSAEDESTADDRREQ, EDESTADDRREQ}, {WSAEMSGSIZE, EMSGSIZE},
        {WSAEPROTOTYPE, EPROTOTYPE}, {WSAENOPROTOOPT, ENOPROTOOPT}, {WSAEPROTONOSUPPORT, EPROTONOSUPPORT},
        {WSAESOCKTNOSUPPORT, EPROTONOSUPPORT}, {WSAEOPNOTSUPP, EOPNOTSUPP}, {WSAEPFNOSUPPORT, EAFNOSUPPORT},
        {WSAEAFNOSUPPORT, EAFNOSUPPORT}, {WSAEADDRINUSE, EADDRINUSE}, {WSAEADDRNOTAVAIL, EADDRNOTAVAIL},
        {WSAENETDOWN, ENETDOWN}, {WSAENETUNREACH, ENETUNREACH}, {WSAENETRESET, ENETRESET},
        {WSAECONNABORTED, ECONNABORTED}, {WSAECONNRESET, ECONNRESET}, {WSAENOBUFS, ENOBUFS},
        {WSAEISCONN, EISCONN}, {WSAENOTCONN, ENOTCONN}, {WSAESHUTDOWN, EPIPE}, {WSAETIMEDOUT, ETIMEDOUT},
        {WSAECONNREFUSED, ECONNREFUSED}, {WSAEHOSTUNREACH, EHOSTUNREACH}, {WSAEDISCON, EPIPE},
    };
    if (!e) return 0;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (list[i].from == e) return list[i].to;
    return EIO;
}
// Sets errno from the last error. -1, as the calls of POSIX.
CRT__UNUSED static int crt__win_failed(void) { return errno = crt__win_error(GetLastError()), -1; }

// ---------------------------------------------------------------------------
// threads
// ---------------------------------------------------------------------------

#ifdef CRT__TLS
#define CRT__WIN_TLS CRT__TLS
#else
#define CRT__WIN_TLS   // one thread
#endif

// Milliseconds, rounded up, for waits: never early. Negative or CRT_FOREVER: no limit.
static DWORD crt__win_ms(int64_t timeout_ns)
{
    if (timeout_ns < 0 || timeout_ns == CRT_FOREVER) return INFINITE;
    int64_t ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
    return ms > INT_MAX ? INT_MAX : (DWORD)ms;
}
#ifndef CRT__FUTEX_OVERRIDE
static int crt__futex_wait(uint32_t *addr, uint32_t expected, int64_t timeout_ns)
{
    DWORD ms = crt__win_ms(timeout_ns);
    return !WaitOnAddress(addr, &expected, sizeof expected, ms) && GetLastError() == ERROR_TIMEOUT;
}
static void crt__futex_wake(uint32_t *addr, int how_many)
{
    if (how_many == 1) WakeByAddressSingle(addr);
    else WakeByAddressAll(addr);
}
#endif

// A wait in milliseconds lasts until the clock tick after, which may be 15.6 ms: this timer
// does not (Windows 10 1803 and later; some 0.5 ms). Giving way to a ready thread comes first,
// but only every other time: it would never let one of lower priority run.
CRT__UNUSED static CRT__COLD void crt__nap(void)
{
    static CRT__WIN_TLS bool gave_way;
    const DWORD high_resolution = 2;   // CREATE_WAITABLE_TIMER_HIGH_RESOLUTION
    LARGE_INTEGER due;
    if ((gave_way = !gave_way && SwitchToThread())) return;
    HANDLE timer = CreateWaitableTimerExW(NULL, NULL, high_resolution, SYNCHRONIZE | TIMER_MODIFY_STATE);
    due.QuadPart = -500;   // 50 us from now
    if (timer && SetWaitableTimer(timer, &due, 0, NULL, NULL, FALSE)) WaitForSingleObject(timer, INFINITE);
    else Sleep(1);
    if (timer) CloseHandle(timer);
}

static int64_t crt__clock(void)
{
    static uint64_t frequency;   // atomic; all who write it write the same
    LARGE_INTEGER t;
    uint64_t f = crt__atomic_load(&frequency, CRT__RELAXED);
    if (!f) {
        QueryPerformanceFrequency(&t);
        f = (uint64_t)t.QuadPart;
        crt__atomic_store(&frequency, f, CRT__RELAXED);
    }
    QueryPerformanceCounter(&t);
    uint64_t n = (uint64_t)t.QuadPart;
    return (int64_t)(n / f * 1000000000 + n % f * 1000000000 / f);
}

// A thread's own handle is the one that its starter got: whoever joins or detaches,
// through either, closes it.
typedef struct crt__thread_begin_with {
    void *(*fn)(void *);
    void *arg;
    HANDLE self;
} crt__thread_begin_with;
static CRT__WIN_TLS HANDLE crt__thread_handle;

static unsigned __stdcall crt__thread_entry(void *arg)
{
    crt__thread_begin_with with = *(crt__thread_begin_with *)arg;
    HeapFree(GetProcessHeap(), 0, arg);
    crt__thread_handle = with.self;
    with.fn(with.arg);
    return 0;
}
static int crt__thread_start(crt__thread *thread, void *(*fn)(void *), void *arg, size_t stack)
{
    // The system's memory, as that of the thread: none of the program's.
    crt__thread_begin_with *with = HeapAlloc(GetProcessHeap(), 0, sizeof *with);
    if (!with) return CRT_ENOMEM;
    unsigned size = stack > UINT_MAX ? UINT_MAX : (unsigned)stack;
    unsigned flags = CREATE_SUSPENDED | (stack ? STACK_SIZE_PARAM_IS_A_RESERVATION : 0);
    with->fn = fn;
    with->arg = arg;
    *thread = with->self = (HANDLE)_beginthreadex(NULL, size, crt__thread_entry, with, flags, NULL);
    if (!*thread) {
        HeapFree(GetProcessHeap(), 0, with);
        return -errno;
    }
    if (ResumeThread(*thread) == (DWORD)-1) {   // it has not begun, and never will
        int e = -crt__win_error(GetLastError());
        (void)TerminateThread(*thread, 0);
        CloseHandle(*thread);
        HeapFree(GetProcessHeap(), 0, with);
        return e;
    }
    return 0;
}
static void crt__thread_join(crt__thread thread)
{
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}
static void crt__thread_detach(crt__thread thread) { CloseHandle(thread); }
static crt__thread crt__thread_self(void) { return crt__thread_handle; }
static uint64_t crt__thread_number(void) { return GetCurrentThreadId(); }
static int64_t crt__process_number(void) { return GetCurrentProcessId(); }

// A function that older systems lack, or that has no import library; NULL: it is not there.
typedef void (*crt__win_fn)(void);
static crt__win_fn crt__win_find(const wchar_t *library, const char *name)
{
    HMODULE m = GetModuleHandleW(library);
    if (!m) m = LoadLibraryExW(library, NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
    return m ? (crt__win_fn)GetProcAddress(m, name) : NULL;
}
static void crt__thread_set_name(const char *name)
{
    typedef HRESULT(WINAPI * describe)(HANDLE, const wchar_t *);
    wchar_t wide[64];
    describe f = (describe)crt__win_find(L"kernel32.dll", "SetThreadDescription");
    if (f && MultiByteToWideChar(CP_UTF8, 0, name, -1, wide, 64) > 0) (void)f(GetCurrentThread(), wide);
}
static int crt__cpu_count(void)
{
    DWORD_PTR mine = 0, all = 0;
    int n = 0;
    (void)GetProcessAffinityMask(GetCurrentProcess(), &mine, &all);
    for (; mine; mine &= mine - 1) n++;
    if (!n) n = (int)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);   // of several groups: the mask is 0
    // What a container's job leaves of them, rounded down: hundredths of a per cent.
    JOBOBJECT_CPU_RATE_CONTROL_INFORMATION rate;
    memset(&rate, 0, sizeof rate);
    const DWORD capped = JOB_OBJECT_CPU_RATE_CONTROL_ENABLE | JOB_OBJECT_CPU_RATE_CONTROL_HARD_CAP;
    if (QueryInformationJobObject(NULL, JobObjectCpuRateControlInformation, &rate, sizeof rate, NULL) &&
        (rate.ControlFlags & capped) == capped)
        n = crt__min(n, (int)((uint64_t)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS) * rate.CpuRate / 10000));
    return crt__max(n, 1);
}

// ---------------------------------------------------------------------------
// descriptors: sockets. Handles of other things are closed by who knows what they are.
// ---------------------------------------------------------------------------

static void crt__fd_close(crt__fd fd)
{
#ifdef CRT_NO_NET
    (void)fd;
#else
    closesocket((SOCKET)fd);
#endif
}
static bool crt__would_block(int e) { return e == EAGAIN; }

// ---------------------------------------------------------------------------
// the reactor
// ---------------------------------------------------------------------------
// A completion port. Sockets are asked for readiness through the AFD device, whose poll
// is one request for one socket that completes once: so each direction of a socket is
// asked for when a task begins to wait for it and not before (crt__reactor_want). That
// gives edges out of levels: what was told is told again only to who waits again, after
// it met EAGAIN.
//
// The state of a record of >>io lies in a table with the same numbers, which only
// grows: a completion always finds memory that is valid. Each direction has a request of
// its own, so that none has to be cancelled for another.
//
//   idle --want--> asked --completion: tell--> idle
//                    |
//                 removed (the request is cancelled; the record may be used again)
//                    |
//                    +--completion: tell nobody--> idle, or, if wanted meanwhile, asked
//
// Invariant, under the lock of a record: `asked` is true from the request on until its
// completion has been taken out of the port, and only then is its memory used again. A
// request carries the token that it was made for: with another in the record by then,
// it tells nobody. Whoever wants a direction that is asked for another token leaves
// `wanted`, and the completion asks again.

enum { CRT__KEY_WAKE, CRT__KEY_SIGNAL, CRT__KEY_AFD, CRT__KEY_CALL };

typedef struct crt__afd_block crt__afd_block;
enum { CRT__AFD_BLOCKS = 20 };

struct crt__reactor {
    HANDLE port;
    crt_runtime *rt;
    int max_events;
    uint32_t woken;   // atomic: a wake-up is in the port
    uint32_t lock;    // over the growing of the table, and closing
    crt__afd_block *block[CRT__AFD_BLOCKS];   // atomic: 64, 128, 256, ... records
    struct crt__win_pipe_end *closing;   // under `lock`; see pipes
    bool watches;     // in the list below
    crt__reactor *next, *prev;
    OVERLAPPED_ENTRY entries[];
};
// Who is told of signals. The console's handler runs on a thread of the system's, with
// CRT_NO_THREADS too, where crt__lock holds off nobody.
static struct {
    SRWLOCK lock;   // zeros: SRWLOCK_INIT
    crt__reactor *first;
} crt__signal_watchers;

// Another kind of completion: `done` is called by who waits.
typedef struct crt__port_call {
    OVERLAPPED overlapped;
    void (*done)(struct crt__port_call *call, crt_runtime *rt);
} crt__port_call;

static size_t crt__reactor_bytes(int max_events)
{
    return sizeof(crt__reactor) + (size_t)max_events * sizeof(OVERLAPPED_ENTRY);
}
// The system may have no memory for it just now; whoever waits would never hear of it.
static void crt__port_post(HANDLE port, ULONG_PTR key, OVERLAPPED *of)
{
    while (!PostQueuedCompletionStatus(port, 0, key, of)) Sleep(1);
}
static void crt__reactor_wake(crt__reactor *r)
{
    // One in the port is enough: whoever takes it out clears the word first.
    if (!crt__atomic_xchg(&r->woken, 1, CRT__SEQ_CST)) crt__port_post(r->port, CRT__KEY_WAKE, NULL);
}
// A completion port cannot be waited for by anything else.
static crt__fd crt__reactor_fd(crt__reactor *r) { return (void)r, -ENOTSUP; }

#ifndef CRT_NO_NET
enum {   // what AFD tells, by its numbers
    CRT__AFD_RECEIVE = 0x1,
    CRT__AFD_URGENT = 0x2,
    CRT__AFD_SEND = 0x4,
    CRT__AFD_DISCONNECT = 0x8,
    CRT__AFD_ABORT = 0x10,
    CRT__AFD_LOCAL_CLOSE = 0x20,
    CRT__AFD_ACCEPT = 0x80,
    CRT__AFD_CONNECT_FAIL = 0x100,
    CRT__AFD_IOCTL = 0x12024
};
typedef struct crt__afd_info {
    LARGE_INTEGER timeout;
    ULONG count, exclusive;
    HANDLE handle;
    ULONG events;
    LONG status;
} crt__afd_info;
typedef struct crt__afd_ask {
    IO_STATUS_BLOCK status;
    crt__afd_info info;
    uint64_t token;
    uint8_t direction;
    bool asked, wanted;
    bool hangup;   // in place of CRT__AFD_PRIORITY: only the end of the connection
} crt__afd_ask;
enum { CRT__AFD_READ, CRT__AFD_WRITE, CRT__AFD_PRIORITY, CRT__AFD_WAYS };
typedef struct crt__afd_record {
    uint32_t lock;
    HANDLE socket;   // the system's own, below what may be layered over it; NULL: none
    uint64_t token;
    HANDLE device;
    crt__afd_ask ask[CRT__AFD_WAYS];
} crt__afd_record;
// The system keeps the requests of a device handle in a list: a handle for 32 sockets.
enum { CRT__AFD_SHARE = 32 };
struct crt__afd_block {
    uint32_t count;
    HANDLE *device;
    crt__afd_record record[];
};

static struct {
    uint32_t lock;
    uint32_t ready;   // atomic
    LONG(NTAPI *control)(HANDLE, HANDLE, void *, void *, void *, ULONG, void *, ULONG, void *, ULONG);
    LONG(NTAPI *create)(HANDLE *, ULONG, OBJECT_ATTRIBUTES *, IO_STATUS_BLOCK *, LARGE_INTEGER *, ULONG, ULONG, ULONG,
                        ULONG, void *, ULONG);
    LONG(NTAPI *cancel)(HANDLE, IO_STATUS_BLOCK *, IO_STATUS_BLOCK *);
    ULONG(NTAPI *error)(LONG);
    HANDLE device;    // for questions that are answered at once
} crt__afd;

// A handle of the device. `waits`: requests complete before the call returns.
static int crt__afd_open(bool waits, HANDLE *device)
{
    static wchar_t name[] = L"\\Device\\Afd\\crt";
    UNICODE_STRING s;
    OBJECT_ATTRIBUTES a;
    IO_STATUS_BLOCK status;
    memset(&a, 0, sizeof a);
    s.Length = (USHORT)(sizeof name - sizeof *name);
    s.MaximumLength = (USHORT)sizeof name;
    s.Buffer = name;
    a.Length = sizeof a;
    a.ObjectName = &s;
    const ULONG open = 1, nonalert = 0x20;   // FILE_OPEN, FILE_SYNCHRONOUS_IO_NONALERT
    LONG e = crt__afd.create(device, SYNCHRONIZE, &a, &status, NULL, 0, FILE_SHARE_READ | FILE_SHARE_WRITE, open,
                             waits ? nonalert : 0, NULL, 0);
    return e < 0 ? -crt__win_error(crt__afd.error(e)) : 0;
}
static int crt__afd_begin(void)
{
    WSADATA data;
    int e = WSAStartup(0x202, &data);
    if (e) return -crt__win_error((DWORD)e);
#define CRT__NT(member, name)                                                              \
    {                                                                                      \
        crt__win_fn f = crt__win_find(L"ntdll.dll", name);                                 \
        if (!f) e = -ENOSYS;                                                               \
        memcpy(&crt__afd.member, &f, sizeof f);                                            \
    }
    CRT__NT(control, "NtDeviceIoControlFile")
    CRT__NT(create, "NtCreateFile")
    CRT__NT(cancel, "NtCancelIoFileEx")
    CRT__NT(error, "RtlNtStatusToDosError")
#undef CRT__NT
    if (!e) e = crt__afd_open(true, &crt__afd.device);
    if (e) WSACleanup();   // the next one begins anew
    return e;
}
// Winsock, and the functions of the system that are needed. 0 or -errno.
static int crt__net_begin(void)
{
    if (CRT__LIKELY(crt__atomic_load(&crt__afd.ready, CRT__ACQUIRE))) return 0;
    crt__lock(&crt__afd.lock);
    int e = crt__afd.ready ? 0 : crt__afd_begin();
    if (!e) crt__atomic_store(&crt__afd.ready, 1, CRT__RELEASE);
    crt__unlock(&crt__afd.lock);
    return e;
}
// Which of `events` hold, waiting at most `ms`; 0 also if it cannot be told.
static ULONG crt__afd_look(HANDLE device, HANDLE socket, ULONG events, int ms)
{
    crt__afd_info info;
    IO_STATUS_BLOCK status;
    memset(&info, 0, sizeof info);
    info.timeout.QuadPart = -(int64_t)ms * 10000;   // negative: from now on
    info.count = 1;
    info.handle = socket;
    info.events = events;
    LONG e = crt__afd.control(device, NULL, NULL, NULL, &status, CRT__AFD_IOCTL, &info, sizeof info, &info,
                              sizeof info);
    return e == 0 && info.count ? info.events : 0;
}
static ULONG crt__afd_now(HANDLE socket, ULONG events) { return crt__afd_look(crt__afd.device, socket, events, 0); }
// For what is bound to come soon. On a handle of its own: who waits holds it up. 0 or -errno.
static int crt__afd_wait(HANDLE socket, ULONG events)
{
    HANDLE device;
    int e = crt__afd_open(true, &device);
    if (e) return e;
    (void)crt__afd_look(device, socket, events, 2000);   // the call that follows says what came of it
    CloseHandle(device);
    return 0;
}
// The handle that AFD knows: a layered service provider gives out its own.
static HANDLE crt__afd_base(SOCKET s)
{
    const DWORD base = 0x48000022, poll = 0x4800001D;   // SIO_BASE_HANDLE, SIO_BSP_HANDLE_POLL
    SOCKET to = INVALID_SOCKET;
    DWORD n;
    if (!WSAIoctl(s, base, NULL, 0, &to, sizeof to, &n, NULL, NULL) && to != INVALID_SOCKET) return (HANDLE)to;
    if (!WSAIoctl(s, poll, NULL, 0, &to, sizeof to, &n, NULL, NULL) && to != INVALID_SOCKET) return (HANDLE)to;
    return (HANDLE)s;
}

// --- the table

// Where a number is: *block 64 << b records, from 64 * (2^b - 1) on.
static uint32_t crt__afd_place(uint64_t token, uint32_t *b)
{
    uint32_t at = (uint32_t)token;
    for (*b = 0; at >= 64u << *b; ++*b) at -= 64u << *b;
    return at;
}
static crt__afd_record *crt__afd_at(crt__reactor *r, uint64_t token)
{
    uint32_t b, at = crt__afd_place(token, &b);
    crt__afd_block *block = crt__atomic_load(&r->block[b], CRT__ACQUIRE);
    return block ? &block->record[at] : NULL;
}
static size_t crt__afd_block_bytes(uint32_t count)
{
    return offsetof(crt__afd_block, record) + count * sizeof(crt__afd_record) + count / CRT__AFD_SHARE * sizeof(HANDLE);
}
// The device handle of a record; under the lock of the table. 0 or -errno.
static int crt__afd_device(crt__reactor *r, crt__afd_block *block, uint32_t at)
{
    HANDLE *device = &block->device[at / CRT__AFD_SHARE];
    if (!*device) {
        HANDLE made;
        int e = crt__afd_open(false, &made);
        if (e) return e;
        if (!CreateIoCompletionPort(made, r->port, CRT__KEY_AFD, 0)) {
            e = -crt__win_error(GetLastError());
            CloseHandle(made);
            return e;
        }
        (void)SetFileCompletionNotificationModes(made, FILE_SKIP_SET_EVENT_ON_HANDLE);
        *device = made;
    }
    block->record[at].device = *device;
    return 0;
}
static int crt__afd_grow(crt__reactor *r, uint64_t token, crt__afd_record **out)
{
    uint32_t b, at = crt__afd_place(token, &b), count = 64u << b;
    int e = 0;
    crt__lock(&r->lock);
    crt__afd_block *block = r->block[b];
    if (!block && (block = crt__alloc_zero(r->rt, crt__afd_block_bytes(count)))) {
        block->count = count;
        block->device = (HANDLE *)(void *)(block->record + count);
        crt__atomic_store(&r->block[b], block, CRT__RELEASE);
    }
    if (!block) e = CRT_ENOMEM;
    else if (!block->record[at].device) e = crt__afd_device(r, block, at);
    crt__unlock(&r->lock);
    *out = e ? NULL : &block->record[at];
    return e;
}
static int crt__reactor_add(crt__reactor *r, crt__fd fd, uint64_t token)
{
    crt__afd_record *record;
    int e = crt__afd_grow(r, token, &record);
    if (e) return e;
    HANDLE base = crt__afd_base((SOCKET)fd);
    crt__lock(&record->lock);
    record->socket = base;
    record->token = token;
    crt__unlock(&record->lock);
    return 0;
}
static int crt__reactor_add_priority(crt__reactor *r, crt__fd fd, uint64_t token)
{
    return (void)r, (void)fd, (void)token, 0;
}
// Under the lock of the record.
static bool crt__afd_ask_for(crt__afd_record *record, uint32_t direction)
{
    static const ULONG events[CRT__AFD_WAYS] = {
        CRT__AFD_RECEIVE | CRT__AFD_ACCEPT | CRT__AFD_DISCONNECT | CRT__AFD_ABORT | CRT__AFD_LOCAL_CLOSE,
        CRT__AFD_SEND | CRT__AFD_ABORT | CRT__AFD_CONNECT_FAIL | CRT__AFD_LOCAL_CLOSE,
        CRT__AFD_URGENT | CRT__AFD_ABORT | CRT__AFD_LOCAL_CLOSE,
    };
    crt__afd_ask *ask = &record->ask[direction];
    memset(&ask->info, 0, sizeof ask->info);
    ask->info.timeout.QuadPart = INT64_MAX;
    ask->info.count = 1;
    ask->info.handle = record->socket;
    ask->info.events = events[direction] & ~(ULONG)(ask->hangup ? CRT__AFD_URGENT : 0);
    ask->token = record->token;
    ask->direction = (uint8_t)direction;
    ask->wanted = false;
    // The completion may be taken out of the port at once: then it waits for our lock.
    ask->asked = crt__afd.control(record->device, NULL, NULL, ask, &ask->status, CRT__AFD_IOCTL, &ask->info,
                                  sizeof ask->info, &ask->info, sizeof ask->info) >= 0;
    return ask->asked;
}
static void crt__reactor_remove(crt__reactor *r, crt__fd fd, uint64_t token)
{
    crt__afd_record *record = crt__afd_at(r, token);
    (void)fd;
    crt__lock(&record->lock);
    record->socket = NULL;
    for (uint32_t i = 0; i < CRT__AFD_WAYS; i++) {
        IO_STATUS_BLOCK status;
        record->ask[i].wanted = false;
        if (record->ask[i].asked) (void)crt__afd.cancel(record->device, &record->ask[i].status, &status);
    }
    crt__unlock(&record->lock);
}
static bool crt__reactor_want(crt__reactor *r, uint64_t token, uint32_t bits)
{
    static const uint32_t of[CRT__AFD_WAYS] = {CRT__READABLE, CRT__WRITABLE, CRT__PRIORITY};
    crt__afd_record *record = r ? crt__afd_at(r, token) : NULL;
    // Who waits for none of them waits for a hang-up: on a record of its own (crt_fd_ready),
    // so that no other wait has use for that request.
    bool failed = false, hangup = !(bits & (CRT__READABLE | CRT__WRITABLE | CRT__PRIORITY));
    if (!record) return true;   // it has no socket
    if (hangup) bits |= CRT__PRIORITY;
    crt__lock(&record->lock);
    for (uint32_t i = 0; i < CRT__AFD_WAYS && record->socket && record->token == token; i++) {
        crt__afd_ask *ask = &record->ask[i];
        if (!(bits & of[i])) continue;
        if (!ask->asked || ask->token != token) ask->hangup = hangup;
        if (!ask->asked) failed |= !crt__afd_ask_for(record, i);
        else if (ask->token != token) ask->wanted = true;
    }
    crt__unlock(&record->lock);
    return !failed;
}
static uint32_t crt__afd_ready(ULONG events)
{
    uint32_t ready = 0;
    if (events & (CRT__AFD_RECEIVE | CRT__AFD_ACCEPT)) ready |= CRT__READABLE;
    if (events & CRT__AFD_SEND) ready |= CRT__WRITABLE;
    if (events & CRT__AFD_URGENT) ready |= CRT__PRIORITY;
    if (events & CRT__AFD_DISCONNECT) ready |= CRT__READABLE | CRT__READ_CLOSED;
    if (events & CRT__AFD_CONNECT_FAIL) ready |= CRT__WRITABLE | CRT__WRITE_CLOSED | CRT__IO_ERROR;
    if (events & (CRT__AFD_ABORT | CRT__AFD_LOCAL_CLOSE))
        ready |= CRT__READABLE | CRT__WRITABLE | CRT__READ_CLOSED | CRT__WRITE_CLOSED | CRT__IO_ERROR;
    return ready;
}
static int crt__afd_done(crt__reactor *r, crt_runtime *rt, crt__afd_ask *ask)
{
    crt__afd_record *record = crt__container(ask - ask->direction, crt__afd_record, ask);
    crt__lock(&record->lock);
    uint64_t token = ask->token, again = 0;
    bool same = record->socket && record->token == token;
    // Asked for what is closed: nobody is told, but who waits finds out.
    ULONG events = ask->status.Status == 0 && ask->info.count ? ask->info.events : CRT__AFD_LOCAL_CLOSE;
    ask->asked = false;
    bool failed = ask->wanted && record->socket && !crt__afd_ask_for(record, ask->direction);
    if (failed) again = record->token;
    crt__unlock(&record->lock);
    if (failed) crt__io_event(rt, again, crt__afd_ready(CRT__AFD_LOCAL_CLOSE));
    if (same) crt__io_event(rt, token, crt__afd_ready(events));
    return (void)r, same;
}
// All requests end when the handles are closed; their memory goes when they have ended.
static bool crt__afd_asked(crt__reactor *r)
{
    for (uint32_t b = 0; b < CRT__AFD_BLOCKS && r->block[b]; b++)
        for (uint32_t i = 0; i < r->block[b]->count; i++)
            for (uint32_t d = 0; d < CRT__AFD_WAYS; d++)
                if (r->block[b]->record[i].ask[d].asked) return true;
    return false;
}
static void crt__afd_end(crt__reactor *r)
{
    ULONG n;
    for (uint32_t b = 0; b < CRT__AFD_BLOCKS && r->block[b]; b++)
        for (uint32_t i = 0; i < r->block[b]->count / CRT__AFD_SHARE; i++)
            if (r->block[b]->device[i]) CloseHandle(r->block[b]->device[i]);
    bool ended = true;
    while (ended && crt__afd_asked(r)) {
        ended = GetQueuedCompletionStatusEx(r->port, r->entries, (ULONG)r->max_events, &n, 1000, FALSE);
        for (ULONG i = 0; ended && i < n; i++)
            if (r->entries[i].lpCompletionKey == CRT__KEY_AFD)
                ((crt__afd_ask *)(void *)r->entries[i].lpOverlapped)->asked = false;
    }
    for (uint32_t b = 0; b < CRT__AFD_BLOCKS && r->block[b] && ended; b++)
        crt__free(r->rt, r->block[b], crt__afd_block_bytes(r->block[b]->count));
}
#else
#define crt__net_begin() 0
#define crt__afd_done(r, rt, ask) ((void)(ask), 0)
#define crt__afd_end(r) ((void)(r))
#endif

#ifndef CRT_NO_NET
static void crt__pipes_end(crt__reactor *r);
#else
#define crt__pipes_end(r) ((void)(r))
#endif

static crt__reactor *crt__reactor_new(crt_runtime *rt, int max_events, int *error)
{
    crt__reactor *r = NULL;
    if ((*error = crt__net_begin())) return NULL;
    *error = CRT_ENOMEM;
    if (!(r = crt__alloc_zero(rt, crt__reactor_bytes(max_events)))) return NULL;
    r->rt = rt;
    r->max_events = max_events;
    // Any number of threads that run: each worker has had the driver's turn and counts from then on, and
    // while as many compute as are let in, nobody would be handed an event.
    r->port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, INT_MAX);
    if (r->port) return r;
    *error = -crt__win_error(GetLastError());
    crt__free(rt, r, crt__reactor_bytes(max_events));
    return NULL;
}
static void crt__reactor_free(crt_runtime *rt, crt__reactor *r)
{
    AcquireSRWLockExclusive(&crt__signal_watchers.lock);
    if (r->watches) {
        if (r->prev) r->prev->next = r->next;
        else crt__signal_watchers.first = r->next;
        if (r->next) r->next->prev = r->prev;
    }
    ReleaseSRWLockExclusive(&crt__signal_watchers.lock);
    crt__pipes_end(r);
    crt__afd_end(r);
    CloseHandle(r->port);
    crt__free(rt, r, crt__reactor_bytes(r->max_events));
}
static int crt__reactor_wait(crt__reactor *r, crt_runtime *rt, int64_t timeout_ns)
{
    ULONG n = 0;
    int events = 0;
    DWORD ms = crt__win_ms(timeout_ns);
    if (!GetQueuedCompletionStatusEx(r->port, r->entries, (ULONG)r->max_events, &n, ms, FALSE)) return 0;
    for (ULONG i = 0; i < n; i++) {
        void *of = r->entries[i].lpOverlapped;
        switch (r->entries[i].lpCompletionKey) {
        case CRT__KEY_AFD: events += crt__afd_done(r, rt, of); break;
        case CRT__KEY_CALL:
            events++;
            ((crt__port_call *)of)->done(of, rt);
            break;
        case CRT__KEY_SIGNAL:
            events++;
            crt__signal_wake(rt);
            break;
        default: crt__atomic_store(&r->woken, 0, CRT__SEQ_CST); break;
        }
    }
    return events;
}

// ---------------------------------------------------------------------------
// paths
// ---------------------------------------------------------------------------

// UTF-8 as UTF-16, to be freed; NULL and errno.
CRT__UNUSED static wchar_t *crt__win_wide(const char *text)
{
    int n = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, NULL, 0);
    if (n <= 0) return (void)crt__win_failed(), NULL;
    wchar_t *wide = CRT_MALLOC((size_t)n * sizeof *wide);
    if (!wide) return errno = ENOMEM, NULL;
    MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, wide, n);
    return wide;
}
// The same the other way.
CRT__UNUSED static char *crt__win_narrow(const wchar_t *wide)
{
    int n = WideCharToMultiByte(CP_UTF8, 0, wide, -1, NULL, 0, NULL, NULL);
    char *text = n > 0 ? CRT_MALLOC((size_t)n) : NULL;
    if (!text) return errno = n > 0 ? ENOMEM : EILSEQ, NULL;
    WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, n, NULL, NULL);
    return text;
}
#define CRT__IS_SLASH(c) ((c) == '/' || (c) == '\\')
static bool crt__win_is_whole(const wchar_t *path)
{
    return *path && (path[1] == L':' ? CRT__IS_SLASH(path[2]) : CRT__IS_SLASH(path[0]) && CRT__IS_SLASH(path[1]));
}
// A path for the system: a long one, seen from the root, gets the form that may be long; if `deep`, a short
// one too, for what lies below it. To be freed; NULL and errno.
CRT__UNUSED static wchar_t *crt__win_path_as(const char *path, bool deep)
{
    static const wchar_t local[] = L"\\\\?\\", shared[] = L"\\\\?\\UNC\\";
    if (!*path) return errno = ENOENT, NULL;
    wchar_t *wide = crt__win_wide(path);
    if (!wide || !wcsncmp(wide, local, 4) || !wcsncmp(wide, L"\\\\.\\", 4)) return wide;
    if (!deep && wcslen(wide) < 240 && crt__win_is_whole(wide)) return wide;
    DWORD room = GetFullPathNameW(wide, 0, NULL, NULL) + 8;
    if (!deep && room <= 240 + 8) return wide;
    wchar_t *whole = CRT_MALLOC(room * sizeof *whole);
    DWORD n = whole ? GetFullPathNameW(wide, room - 8, whole + 8, NULL) : 0;
    if (!whole) errno = ENOMEM;
    else if (!n || n > room - 8) (void)crt__win_failed(), CRT_FREE(whole), whole = NULL;
    CRT_FREE(wide);
    if (!whole) return NULL;
    while (n > 3 && whole[8 + n - 1] == L'\\' && whole[8 + n - 2] != L':') whole[8 + --n] = 0;   // it is taken literally
    bool unc = whole[8] == L'\\' && whole[9] == L'\\';
    const wchar_t *head = unc ? shared : local;
    size_t skip = unc ? 10 : 8, k = wcslen(head);
    memcpy(whole, head, k * sizeof *whole);
    memmove(whole + k, whole + skip, (n + 9 - skip) * sizeof *whole);
    return whole;
}
CRT__UNUSED static wchar_t *crt__win_path(const char *path) { return crt__win_path_as(path, false); }
// For calls on one path that give true or an error.
#define CRT__WIN_ON_PATH(path, wide, call)                                                 \
    wchar_t *wide = crt__win_path(path);                                                   \
    if (!wide) return -1;                                                                  \
    int r = (call) ? 0 : crt__win_failed();                                                \
    CRT_FREE(wide);                                                                        \
    return r
// A file, also one that may only be read; a link, not what it points to.
static bool crt__win_delete(wchar_t *wide)
{
    if (DeleteFileW(wide)) return true;
    DWORD e = GetLastError(), is = GetFileAttributesW(wide);
    bool dir = is != INVALID_FILE_ATTRIBUTES && (is & FILE_ATTRIBUTE_DIRECTORY);
    if (e != ERROR_ACCESS_DENIED || is == INVALID_FILE_ATTRIBUTES) return SetLastError(e), false;
    if (dir && (is & FILE_ATTRIBUTE_REPARSE_POINT)) return RemoveDirectoryW(wide);
    if (!dir && (is & FILE_ATTRIBUTE_READONLY) && SetFileAttributesW(wide, is & ~(DWORD)FILE_ATTRIBUTE_READONLY)) {
        if (DeleteFileW(wide)) return true;
        e = GetLastError();
        (void)SetFileAttributesW(wide, is);
    }
    return SetLastError(e), false;
}
CRT__UNUSED static int crt__os_unlink(const char *path) { CRT__WIN_ON_PATH(path, wide, crt__win_delete(wide)); }

// ---------------------------------------------------------------------------
// files
// ---------------------------------------------------------------------------
// A file is a handle that waits. Each transfer says where, so that the position of the
// system, which moves with all of them, is not used where a file has one.

#ifndef CRT_NO_FS
enum { CRT__O_QUIET = 0, CRT__O_TEMP = 0, CRT__O_NONBLOCK = 0, CRT__O_NOFOLLOW = 1 << 30, CRT__O_VANISHES = 1 << 29 };
enum { CRT__NAME_ROOM = 768 };   // 255 units of UTF-16

static HANDLE crt__file_handle(int fd) { return (HANDLE)(intptr_t)fd; }
static int crt__os_close(int fd) { return CloseHandle(crt__file_handle(fd)) ? 0 : crt__win_failed(); }
static void crt__file_fd_close(int fd) { (void)CloseHandle(crt__file_handle(fd)); }

static DWORD crt__open_access(int flags)
{
    const DWORD append = FILE_GENERIC_WRITE & ~(DWORD)FILE_WRITE_DATA;
    DWORD writes = flags & O_APPEND ? append : GENERIC_WRITE;
    int way = flags & (O_RDONLY | O_WRONLY | O_RDWR);
    return way == O_RDONLY ? GENERIC_READ : way == O_WRONLY ? writes : GENERIC_READ | writes;
}
static HANDLE crt__open_wide(const wchar_t *wide, int flags, uint32_t mode)
{
    DWORD how = OPEN_EXISTING, is = FILE_ATTRIBUTE_NORMAL;
    if ((flags & O_CREAT) && (flags & O_EXCL)) how = CREATE_NEW;
    else if (flags & O_CREAT) how = flags & O_TRUNC ? CREATE_ALWAYS : OPEN_ALWAYS;
    else if (flags & O_TRUNC) how = TRUNCATE_EXISTING;
    if ((flags & O_CREAT) && !(mode & 0200)) is = FILE_ATTRIBUTE_READONLY;
    if (flags & CRT__O_NOFOLLOW) is |= FILE_FLAG_OPEN_REPARSE_POINT;
    if (flags & CRT__O_VANISHES) is |= FILE_FLAG_DELETE_ON_CLOSE;
    return CreateFileW(wide, crt__open_access(flags), FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, how,
                       is, NULL);
}
// What a name stands for besides a file: 0, or the tag of its reparse point. With the bit of names it is a
// link (symbolic, or a junction); the others are files of a special kind: deduplicated, in the cloud, sockets.
enum { CRT__TAG_UNKNOWN = 0x20000000, CRT__TAG_NAME = 0x20000000 };
static DWORD crt__win_tag(HANDLE h)
{
    FILE_ATTRIBUTE_TAG_INFO tag;
    BY_HANDLE_FILE_INFORMATION info;
    if (GetFileInformationByHandleEx(h, FileAttributeTagInfo, &tag, sizeof tag))
        return tag.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT ? tag.ReparseTag : 0;
    if (!GetFileInformationByHandle(h, &info)) return 0;
    return info.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT ? CRT__TAG_UNKNOWN : 0;
}
static DWORD crt__win_found_tag(const WIN32_FIND_DATAW *data)
{
    return data->dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT ? data->dwReserved0 : 0;
}
static uint32_t crt__win_kind(DWORD attributes, DWORD tag)
{
    if (tag == 0x80000023 /* IO_REPARSE_TAG_AF_UNIX */) return CRT_FS_SOCKET;
    if (tag & CRT__TAG_NAME) return CRT_FS_SYMLINK;
    return attributes & FILE_ATTRIBUTE_DIRECTORY ? CRT_FS_DIR : CRT_FS_FILE;
}
// The file itself, not what a link leads to; that of a special kind is then opened as what it stands for.
static HANDLE crt__open_no_link(const wchar_t *wide, int flags, uint32_t mode)
{
    HANDLE h = crt__open_wide(wide, flags, mode);
    DWORD tag = h == INVALID_HANDLE_VALUE ? 0 : crt__win_tag(h);
    if (!tag) return h;
    CloseHandle(h);
    if (tag & CRT__TAG_NAME) return SetLastError(ERROR_CANT_RESOLVE_FILENAME), INVALID_HANDLE_VALUE;
    return crt__open_wide(wide, flags & ~(O_CREAT | O_EXCL | CRT__O_NOFOLLOW), mode);
}
static int crt__os_open(const char *path, int flags, uint32_t mode)
{
    wchar_t *wide = crt__win_path(path);
    if (!wide) return -1;
    HANDLE h = flags & CRT__O_NOFOLLOW ? crt__open_no_link(wide, flags, mode) : crt__open_wide(wide, flags, mode);
    if (h == INVALID_HANDLE_VALUE) {
        DWORD e = GetLastError(), is = GetFileAttributesW(wide);
        errno = crt__win_error(e);
        bool dir = is != INVALID_FILE_ATTRIBUTES && (is & FILE_ATTRIBUTE_DIRECTORY);
        if (e == ERROR_ACCESS_DENIED && dir) errno = EISDIR;
        // A name that ends as only that of a directory may.
        size_t n = wcslen(wide);
        if (e == ERROR_INVALID_NAME && n && CRT__IS_SLASH(wide[n - 1])) errno = EISDIR;
    }
    CRT_FREE(wide);
    if (h == INVALID_HANDLE_VALUE) return -1;
    return (int)(intptr_t)h;   // handles fit 32 bits
}
// A handle that was not opened for this is denied it: elsewhere that is EBADF.
static int crt__win_move_failed(void)
{
    (void)crt__win_failed();
    if (errno == EACCES) errno = EBADF;
    return -1;
}
static intptr_t crt__win_read(HANDLE h, void *buf, size_t n, OVERLAPPED *at)
{
    DWORD k = 0;
    if (ReadFile(h, buf, (DWORD)crt__min(n, (size_t)1 << 30), &k, at)) return (intptr_t)k;
    DWORD e = GetLastError();
    return e == ERROR_HANDLE_EOF || e == ERROR_BROKEN_PIPE ? 0 : crt__win_move_failed();
}
static intptr_t crt__win_write(HANDLE h, const void *buf, size_t n, OVERLAPPED *at)
{
    DWORD k = 0;
    return WriteFile(h, buf, (DWORD)crt__min(n, (size_t)1 << 30), &k, at) ? (intptr_t)k : crt__win_move_failed();
}
// At the system's own position.
static intptr_t crt__os_read(int fd, void *buf, size_t n) { return crt__win_read(crt__file_handle(fd), buf, n, NULL); }
static intptr_t crt__os_write(int fd, const void *buf, size_t n)
{
    return crt__win_write(crt__file_handle(fd), buf, n, NULL);
}
// At `at`, or (at < 0) at *position, which moves; NULL: it has none.
static intptr_t crt__win_file_move(int fd, bool in, void *buf, size_t n, int64_t at, int64_t *position)
{
    HANDLE h = crt__file_handle(fd);
    OVERLAPPED o;
    uint64_t where = (uint64_t)(at >= 0 ? at : position ? *position : 0);
    if (at >= 0 && !position) return errno = ESPIPE, -1;
    memset(&o, 0, sizeof o);
    o.Offset = (DWORD)where;
    o.OffsetHigh = (DWORD)(where >> 32);
    OVERLAPPED *place = position ? &o : NULL;
    intptr_t k = in ? crt__win_read(h, buf, n, place) : crt__win_write(h, buf, n, place);
    if (at < 0 && position && k > 0) *position += k;
    return k;
}
static int64_t crt__win_seek(int fd, int64_t *position, int64_t offset, int whence)
{
    LARGE_INTEGER size;
    size.QuadPart = 0;
    if (GetFileType(crt__file_handle(fd)) != FILE_TYPE_DISK) return errno = ESPIPE, -1;
    if (whence == SEEK_END && !GetFileSizeEx(crt__file_handle(fd), &size)) return crt__win_failed();
    int64_t from = whence == SEEK_CUR ? *position : size.QuadPart;
    if (offset < -from || offset > INT64_MAX - from) return errno = EINVAL, -1;
    return *position = from + offset;
}
#define crt__os_seek(f, offset, whence) crt__win_seek((f)->fd, &(f)->position, offset, whence)

static int crt__os_ftruncate(int fd, int64_t length)
{
    FILE_END_OF_FILE_INFO end;
    end.EndOfFile.QuadPart = length;
    HANDLE h = crt__file_handle(fd);
    return SetFileInformationByHandle(h, FileEndOfFileInfo, &end, sizeof end) ? 0 : crt__win_failed();
}
// What may only be read has nothing to be flushed, and may not be.
static int crt__os_fsync(int fd, bool data_only)
{
    (void)data_only;
    return FlushFileBuffers(crt__file_handle(fd)) || GetLastError() == ERROR_ACCESS_DENIED ? 0 : crt__win_failed();
}
static DWORD crt__win_attributes(DWORD is, uint32_t mode)
{
    return mode & 0200 ? is & ~(DWORD)FILE_ATTRIBUTE_READONLY : is | FILE_ATTRIBUTE_READONLY;
}
static bool crt__win_chmod(const wchar_t *wide, uint32_t mode)
{
    DWORD is = GetFileAttributesW(wide), to = crt__win_attributes(is, mode);
    return is != INVALID_FILE_ATTRIBUTES && (is == to || SetFileAttributesW(wide, to ? to : FILE_ATTRIBUTE_NORMAL));
}
// Of the mode, Windows has whether it may be written to.
static int crt__os_chmod(const char *path, uint32_t mode) { CRT__WIN_ON_PATH(path, wide, crt__win_chmod(wide, mode)); }
static int crt__os_fchmod(int fd, uint32_t mode)
{
    FILE_BASIC_INFO info;
    HANDLE h = crt__file_handle(fd);
    if (!GetFileInformationByHandleEx(h, FileBasicInfo, &info, sizeof info)) return crt__win_failed();
    DWORD is = info.FileAttributes, to = crt__win_attributes(is, mode);
    if (is == to) return 0;
    memset(&info, 0, sizeof info);
    info.FileAttributes = to ? to : FILE_ATTRIBUTE_NORMAL;
    return SetFileInformationByHandle(h, FileBasicInfo, &info, sizeof info) ? 0 : crt__win_failed();
}
// What lies above is there, but is no directory: the system only says that there is no such path.
static bool crt__win_is_below_file(wchar_t *wide)
{
    size_t n = wcslen(wide);
    while (n && !CRT__IS_SLASH(wide[n - 1])) n--;
    while (n && CRT__IS_SLASH(wide[n - 1])) n--;
    wide[n] = 0;
    DWORD is = n ? GetFileAttributesW(wide) : INVALID_FILE_ATTRIBUTES;
    return is != INVALID_FILE_ATTRIBUTES && !(is & FILE_ATTRIBUTE_DIRECTORY);
}
static bool crt__win_mkdir(wchar_t *wide)
{
    if (CreateDirectoryW(wide, NULL)) return true;
    DWORD e = GetLastError();
    if (e == ERROR_PATH_NOT_FOUND && crt__win_is_below_file(wide)) e = ERROR_DIRECTORY;
    return SetLastError(e), false;
}
static int crt__os_mkdir(const char *path, uint32_t mode)
{
    (void)mode;
    CRT__WIN_ON_PATH(path, wide, crt__win_mkdir(wide));
}
static int crt__os_rmdir(const char *path) { CRT__WIN_ON_PATH(path, wide, RemoveDirectoryW(wide)); }
// For calls on two paths.
static int crt__win_on_paths(const char *a, const char *b, BOOL (*call)(const wchar_t *, const wchar_t *))
{
    wchar_t *from = crt__win_path(a), *to = from ? crt__win_path(b) : NULL;
    int r = to && call(from, to) ? 0 : to ? crt__win_failed() : -1;
    if (to) CRT_FREE(to);
    if (from) CRT_FREE(from);
    return r;
}
static BOOL crt__win_rename(const wchar_t *from, const wchar_t *to)
{
    return MoveFileExW(from, to, MOVEFILE_REPLACE_EXISTING);
}
static BOOL crt__win_link(const wchar_t *from, const wchar_t *to) { return CreateHardLinkW(to, from, NULL); }
static int crt__os_rename(const char *from, const char *to) { return crt__win_on_paths(from, to, crt__win_rename); }
static int crt__os_link(const char *from, const char *to) { return crt__win_on_paths(from, to, crt__win_link); }
// Links to directories are of another kind: what is there now decides. `target` stays as
// it is said, from where the link lies.
static int crt__os_symlink(const char *target, const char *path)
{
    const DWORD unprivileged = 2;   // SYMBOLIC_LINK_FLAG_ALLOW_UNPRIVILEGED_CREATE
    typedef BOOLEAN(WINAPI * create)(const wchar_t *, const wchar_t *, DWORD);
    create f = (create)crt__win_find(L"kernel32.dll", "CreateSymbolicLinkW");
    wchar_t *to = crt__win_wide(target), *at = to ? crt__win_path(path) : NULL;
    size_t n = strlen(path), k = strlen(target);
    char *beside = at ? CRT_MALLOC(n + k + 1) : NULL;
    int r = -1;
    if (beside && f) {
        bool whole = k && (CRT__IS_SLASH(target[0]) || (k > 1 && target[1] == ':'));
        while (n && !CRT__IS_SLASH(path[n - 1])) n--;
        if (whole) n = 0;
        memcpy(beside, path, n);
        memcpy(beside + n, target, k + 1);
        wchar_t *wide = crt__win_path(beside);
        DWORD is = wide ? GetFileAttributesW(wide) : INVALID_FILE_ATTRIBUTES;
        bool dir = is != INVALID_FILE_ATTRIBUTES && (is & FILE_ATTRIBUTE_DIRECTORY);
        for (wchar_t *c = to; *c; c++)
            if (*c == L'/') *c = L'\\';
        r = f(at, to, unprivileged | (dir ? 1 : 0)) ? 0 : crt__win_failed();
        if (wide) CRT_FREE(wide);
    } else if (at) {
        errno = f ? ENOMEM : ENOSYS;
    }
    if (beside) CRT_FREE(beside);
    if (at) CRT_FREE(at);
    if (to) CRT_FREE(to);
    return r;
}

// 100 ns since 1601.
static int64_t crt__win_ns(int64_t t)
{
    const int64_t most = INT64_MAX / 1000000000 - 1, from_1970 = t - 116444736000000000;
    if (from_1970 / 10000000 > most) return most * 1000000000;
    return from_1970 / 10000000 < -most ? -most * 1000000000 : from_1970 * 100;
}
static int crt__win_stat(HANDLE h, crt_fs_stat *out)
{
    BY_HANDLE_FILE_INFORMATION info;
    FILE_BASIC_INFO times;
    FILE_STANDARD_INFO size;
    memset(out, 0, sizeof *out);
    DWORD type = GetFileType(h);
    out->mode = 0666;
    if (type != FILE_TYPE_DISK) {
        out->kind = type == FILE_TYPE_PIPE ? CRT_FS_FIFO : type == FILE_TYPE_CHAR ? CRT_FS_CHAR : CRT_FS_OTHER;
        out->nlink = 1;
        return 0;
    }
    if (!GetFileInformationByHandle(h, &info) || !GetFileInformationByHandleEx(h, FileBasicInfo, &times, sizeof times))
        return crt__win_failed();
    out->size = (uint64_t)info.nFileSizeHigh << 32 | info.nFileSizeLow;
    out->ino = (uint64_t)info.nFileIndexHigh << 32 | info.nFileIndexLow;
    out->dev = info.dwVolumeSerialNumber;
    out->nlink = info.nNumberOfLinks;
    out->allocated = out->size;
    if (GetFileInformationByHandleEx(h, FileStandardInfo, &size, sizeof size))
        out->allocated = (uint64_t)size.AllocationSize.QuadPart;
    out->atime_ns = crt__win_ns(times.LastAccessTime.QuadPart);
    out->mtime_ns = crt__win_ns(times.LastWriteTime.QuadPart);
    out->ctime_ns = crt__win_ns(times.ChangeTime.QuadPart);
    out->kind = crt__win_kind(info.dwFileAttributes, crt__win_tag(h));
    if (info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) {
        out->mode = 0777;
        out->size = 0;
    }
    if (info.dwFileAttributes & FILE_ATTRIBUTE_READONLY) out->mode &= ~0222u;
    return 0;
}
static int crt__os_fstat(int fd, crt_fs_stat *out) { return crt__win_stat(crt__file_handle(fd), out); }
// A handle that tells of what is at a path, a directory too.
static HANDLE crt__win_look_at(const wchar_t *wide, bool follow)
{
    DWORD flags = FILE_FLAG_BACKUP_SEMANTICS | (follow ? 0 : FILE_FLAG_OPEN_REPARSE_POINT);
    return CreateFileW(wide, FILE_READ_ATTRIBUTES, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                       OPEN_EXISTING, flags, NULL);
}
static HANDLE crt__win_look(const char *path, bool follow)
{
    wchar_t *wide = crt__win_path(path);
    if (!wide) return INVALID_HANDLE_VALUE;
    HANDLE h = crt__win_look_at(wide, follow);
    // A socket, say, leads nowhere.
    if (h == INVALID_HANDLE_VALUE && follow && GetLastError() == 1920 /* ERROR_CANT_ACCESS_FILE */)
        h = crt__win_look_at(wide, false);
    if (h == INVALID_HANDLE_VALUE) (void)crt__win_failed();
    CRT_FREE(wide);
    return h;
}
static bool crt__win_link_at(const wchar_t *wide)
{
    HANDLE h = crt__win_look_at(wide, false);
    DWORD tag = h == INVALID_HANDLE_VALUE ? CRT__TAG_UNKNOWN : crt__win_tag(h);
    if (h != INVALID_HANDLE_VALUE) CloseHandle(h);
    return (tag & CRT__TAG_NAME) != 0;
}
static int crt__os_stat(const char *path, bool follow, crt_fs_stat *out)
{
    HANDLE h = crt__win_look(path, follow);
    if (h == INVALID_HANDLE_VALUE) return -1;
    int r = crt__win_stat(h, out);
    CloseHandle(h);
    return r;
}
// To be freed; NULL and errno.
static char *crt__win_real_path(const char *path)
{
    HANDLE h = crt__win_look(path, true);
    if (h == INVALID_HANDLE_VALUE) return NULL;
    DWORD n = GetFinalPathNameByHandleW(h, NULL, 0, FILE_NAME_NORMALIZED);
    wchar_t *wide = n ? CRT_MALLOC((n + 1) * sizeof *wide) : NULL;
    char *text = NULL;
    if (!n) (void)crt__win_failed();
    else if (!wide) errno = ENOMEM;
    else if (!GetFinalPathNameByHandleW(h, wide, n + 1, FILE_NAME_NORMALIZED)) (void)crt__win_failed();
    else {
        bool plain = !wcsncmp(wide, L"\\\\?\\", 4) && wcsncmp(wide, L"\\\\?\\UNC\\", 8) && wcslen(wide) < 240;
        text = crt__win_narrow(wide + (plain ? 4 : 0));
    }
    if (wide) CRT_FREE(wide);
    CloseHandle(h);
    return text;
}
static char *crt__win_read_link(const char *path)
{
    struct {   // REPARSE_DATA_BUFFER
        ULONG tag;
        USHORT length, reserved, name, name_n, print, print_n;
        wchar_t text[8192 + 1];   // of a symbolic link: two units of flags, then the names
    } *data;
    DWORD n;
    char *text = NULL;
    HANDLE h = crt__win_look(path, false);
    if (h == INVALID_HANDLE_VALUE) return NULL;
    if (!(data = CRT_MALLOC(sizeof *data))) {
        errno = ENOMEM;
    } else if (!DeviceIoControl(h, 0x900a8 /* FSCTL_GET_REPARSE_POINT */, NULL, 0, data, sizeof *data - sizeof(wchar_t), &n,
                                NULL)) {
        (void)crt__win_failed();
    } else if (data->tag != IO_REPARSE_TAG_SYMLINK && data->tag != IO_REPARSE_TAG_MOUNT_POINT) {
        errno = EINVAL;
    } else {
        // The name to be shown; a junction need not have one.
        bool shown = data->print_n > 0;
        wchar_t *at = data->text + (data->tag == IO_REPARSE_TAG_SYMLINK ? 2 : 0);
        at += (shown ? data->print : data->name) / sizeof(wchar_t);
        at[(shown ? data->print_n : data->name_n) / sizeof(wchar_t)] = 0;
        text = crt__win_narrow(at + (!shown && !wcsncmp(at, L"\\??\\", 4) ? 4 : 0));
    }
    if (data) CRT_FREE(data);
    CloseHandle(h);
    return text;
}
// Random letters in place of the six X at the end.
static void crt__win_fill_in(char *name)
{
    static uint32_t count;   // atomic
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint64_t x = (uint64_t)crt__clock() ^ (uint64_t)GetCurrentProcessId() << 40 ^
                 (uint64_t)crt__atomic_add(&count, 1, CRT__RELAXED) << 20;
    char *end = name + strlen(name);
    for (int i = 1; i <= 6; i++) {
        x = (x ^ x >> 29) * 0xBF58476D1CE4E5B9u;
        end[-i] = letters[x >> 59];
    }
}
static int crt__os_mkostemp(char *name, int flags)
{
    int fd = -1;
    for (int i = 0; fd < 0 && i < 100; i++) {
        crt__win_fill_in(name);
        fd = crt__os_open(name, O_RDWR | O_CREAT | O_EXCL | flags, 0600);
        if (fd < 0 && errno != EEXIST) break;
    }
    return fd;
}
static char *crt__os_mkdtemp(char *name)
{
    for (int i = 0; i < 100; i++) {
        crt__win_fill_in(name);
        if (!crt__os_mkdir(name, 0700)) return name;
        if (errno != EEXIST) break;
    }
    return NULL;
}

typedef struct crt__os_dir {
    HANDLE find;
    WIN32_FIND_DATAW data;
    bool first;                  // `data` has not been told yet
    char name[CRT__NAME_ROOM];
} crt__os_dir;

static void crt__os_closedir(crt__os_dir *d)
{
    if (d->find != INVALID_HANDLE_VALUE) FindClose(d->find);
    CRT_FREE(d);
}
// The pattern that finds all in a directory; to be freed.
static wchar_t *crt__win_all_in(const wchar_t *dir)
{
    size_t n = wcslen(dir);
    wchar_t *all = CRT_MALLOC((n + 3) * sizeof *all);
    if (!all) return errno = ENOMEM, NULL;
    memcpy(all, dir, n * sizeof *all);
    if (n && !CRT__IS_SLASH(dir[n - 1])) all[n++] = L'\\';
    all[n++] = L'*';
    all[n] = 0;
    return all;
}
static crt__os_dir *crt__os_opendir(const char *path)
{
    wchar_t *wide = crt__win_path(path), *all = wide ? crt__win_all_in(wide) : NULL;
    crt__os_dir *d = all ? CRT_MALLOC(sizeof *d) : NULL;
    bool ok = false;
    if (d) {
        DWORD is = GetFileAttributesW(wide);
        d->first = true;
        d->find = FindFirstFileExW(all, FindExInfoBasic, &d->data, FindExSearchNameMatch, NULL,
                                   FIND_FIRST_EX_LARGE_FETCH);
        ok = d->find != INVALID_HANDLE_VALUE;
        if (!ok) (void)crt__win_failed();
        // The root of a drive has not even itself in it.
        if (!ok && GetLastError() == ERROR_FILE_NOT_FOUND && is != INVALID_FILE_ATTRIBUTES &&
            (is & FILE_ATTRIBUTE_DIRECTORY))
            ok = true;
        if (is != INVALID_FILE_ATTRIBUTES && !(is & FILE_ATTRIBUTE_DIRECTORY)) errno = ENOTDIR;
    } else if (all) {
        errno = ENOMEM;
    }
    if (d && !ok) CRT_FREE(d);
    if (all) CRT_FREE(all);
    if (wide) CRT_FREE(wide);
    return ok ? d : NULL;
}
static int crt__os_dirfd(crt__os_dir *d) { return (void)d, -1; }
static bool crt__win_is_dot(const wchar_t *name)
{
    return name[0] == L'.' && (!name[1] || (name[1] == L'.' && !name[2]));
}
static const char *crt__os_readdir(crt__os_dir *d, uint64_t *ino, uint32_t *kind)
{
    if (d->find == INVALID_HANDLE_VALUE) return errno = 0, NULL;
    do {
        if (!d->first && !FindNextFileW(d->find, &d->data)) {
            errno = GetLastError() == ERROR_NO_MORE_FILES ? 0 : crt__win_error(GetLastError());
            return NULL;
        }
        d->first = false;
    } while (crt__win_is_dot(d->data.cFileName));
    *ino = 0;   // not told here
    *kind = crt__win_kind(d->data.dwFileAttributes, crt__win_found_tag(&d->data));
    WideCharToMultiByte(CP_UTF8, 0, d->data.cFileName, -1, d->name, sizeof d->name, NULL, NULL);
    return d->name;
}

// The directories from the top to the one being emptied.
typedef struct crt__win_level {
    struct crt__win_level *up;
    HANDLE find;
    WIN32_FIND_DATAW data;
    bool more;
    wchar_t path[];
} crt__win_level;

static int crt__win_level_push(crt__win_level **top, const wchar_t *dir, const wchar_t *name)
{
    size_t n = wcslen(dir), k = name ? wcslen(name) + 1 : 0;
    crt__win_level *l = CRT_MALLOC(sizeof *l + (n + k + 1) * sizeof(wchar_t));
    wchar_t *all = NULL;
    if (l) {
        memcpy(l->path, dir, (n + 1) * sizeof(wchar_t));
        if (name) {
            l->path[n] = L'\\';
            memcpy(l->path + n + 1, name, k * sizeof(wchar_t));
        }
        all = crt__win_all_in(l->path);
    }
    if (!all) {
        if (l) CRT_FREE(l);
        return CRT_ENOMEM;
    }
    l->find = FindFirstFileW(all, &l->data);
    int e = l->find == INVALID_HANDLE_VALUE ? -crt__win_error(GetLastError()) : 0;
    CRT_FREE(all);
    l->more = true;
    l->up = *top;
    if (e) CRT_FREE(l);
    else *top = l;
    return e;
}
// Deletes what it has found last, or goes down into it.
static int crt__win_level_step(crt__win_level **top)
{
    crt__win_level *l = *top;
    DWORD is = l->data.dwFileAttributes;
    wchar_t *name = l->data.cFileName;
    int e = 0;
    if (!l->more) {
        FindClose(l->find);
        *top = l->up;
        if (!RemoveDirectoryW(l->path)) e = -crt__win_error(GetLastError());
        CRT_FREE(l);
        return e == -ENOENT ? 0 : e;
    }
    if (crt__win_is_dot(name)) {
        l->more = FindNextFileW(l->find, &l->data);
        return 0;
    }
    if ((is & FILE_ATTRIBUTE_DIRECTORY) && !(crt__win_found_tag(&l->data) & CRT__TAG_NAME)) {
        e = crt__win_level_push(top, l->path, name);
    } else {
        size_t n = wcslen(l->path), k = wcslen(name) + 1;
        wchar_t *whole = CRT_MALLOC((n + k + 1) * sizeof *whole);
        if (!whole) return CRT_ENOMEM;
        memcpy(whole, l->path, n * sizeof *whole);
        whole[n] = L'\\';
        memcpy(whole + n + 1, name, k * sizeof *whole);
        if (!crt__win_delete(whole)) e = -crt__win_error(GetLastError());
        CRT_FREE(whole);
    }
    if (e == -ENOENT) e = 0;
    if (!e) l->more = FindNextFileW(l->find, &l->data);
    return e;
}
// *wanted: 1 when nobody waits for it any more.
static intptr_t crt__win_remove_all(const char *path, uint32_t *wanted)
{
    crt__win_level *top = NULL;
    wchar_t *wide = crt__win_path_as(path, true);
    if (!wide) return -errno;
    DWORD is = GetFileAttributesW(wide);
    int e = 0;
    if (is == INVALID_FILE_ATTRIBUTES) e = -crt__win_error(GetLastError());
    else if ((is & FILE_ATTRIBUTE_REPARSE_POINT) && crt__win_link_at(wide)) e = crt__win_delete(wide) ? 0 : -crt__win_error(GetLastError());
    else if (!(is & FILE_ATTRIBUTE_DIRECTORY)) e = -ENOTDIR;
    else e = crt__win_level_push(&top, wide, NULL);
    CRT_FREE(wide);
    while (top && !e) e = crt__atomic_load(wanted, CRT__ACQUIRE) == 1 ? CRT_ECANCELED : crt__win_level_step(&top);
    for (crt__win_level *l; (l = top);) {
        top = l->up;
        FindClose(l->find);
        CRT_FREE(l);
    }
    return e;
}
static intptr_t crt__file_copy_some(int from, int to) { return (void)from, (void)to, -1; }
#endif

// ---------------------------------------------------------------------------
// standard streams
// ---------------------------------------------------------------------------
// A console speaks UTF-16: half characters wait here for the rest. What is no console may
// hold the thread up in a call, which a wake-up cuts short.

#ifndef CRT_NO_NET
typedef struct crt__stdio_wake {
    HANDLE event;
    HANDLE thread;       // atomic: the one that waits, once it does
    SRWLOCK lock;
    bool in_console;     // under the lock: it reads a line of a console
    char tail[4];        // to the console: bytes of a character that is not whole
    DWORD tail_n;
    wchar_t half;        // from the console: the first of two
} crt__stdio_wake;

static HANDLE crt__stdio_handle(int fd)
{
    static const DWORD of[] = {STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE};
    return GetStdHandle(of[fd]);
}
static bool crt__stdio_exists(int fd)
{
    HANDLE h = crt__stdio_handle(fd);
    return h && h != INVALID_HANDLE_VALUE;
}
static int crt__stdio_wake_new(crt__stdio_wake *w, int fd)
{
    (void)fd;
    memset(w, 0, sizeof *w);
    w->event = CreateEventW(NULL, FALSE, FALSE, NULL);
    return w->event ? 0 : -crt__win_error(GetLastError());
}
static void crt__stdio_wake_free(crt__stdio_wake *w)
{
    if (w->thread) CloseHandle(w->thread);
    CloseHandle(w->event);
    w->thread = w->event = NULL;
}
static void crt__stdio_wake_up(crt__stdio_wake *w)
{
    HANDLE thread = crt__atomic_load(&w->thread, CRT__ACQUIRE);
    SetEvent(w->event);
    // A console goes on reading a line for a call that was cancelled, and throws it away: that call stays,
    // and the line is for whoever reads next.
    AcquireSRWLockExclusive(&w->lock);
    if (thread && !w->in_console) (void)CancelSynchronousIo(thread);
    ReleaseSRWLockExclusive(&w->lock);
}
static void crt__stdio_in_console(crt__stdio_wake *w, bool in)
{
    AcquireSRWLockExclusive(&w->lock);
    w->in_console = in;
    ReleaseSRWLockExclusive(&w->lock);
}
static bool crt__stdio_wait(crt__stdio_wake *w, int fd, bool busy)
{
    (void)fd;
    if (!w->thread) {
        HANDLE me = NULL, all = GetCurrentProcess();
        (void)DuplicateHandle(all, GetCurrentThread(), all, &me, 0, FALSE, DUPLICATE_SAME_ACCESS);
        crt__atomic_store(&w->thread, me, CRT__RELEASE);
    }
    if (!busy) WaitForSingleObject(w->event, INFINITE);
    return busy;
}
// How many bytes of `text` are whole characters.
static DWORD crt__utf8_whole(const char *text, DWORD n)
{
    DWORD back = 0;
    while (back < 3 && back < n && ((unsigned char)text[n - 1 - back] & 0xc0) == 0x80) back++;
    if (back == n) return n;
    unsigned char lead = (unsigned char)text[n - 1 - back];
    DWORD wants = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    return wants > back + 1 ? n - 1 - back : n;
}
static bool crt__console_put(HANDLE h, const char *text, DWORD n)
{
    wchar_t wide[512];
    DWORD done;
    int k = n ? MultiByteToWideChar(CP_UTF8, 0, text, (int)n, wide, 512) : 0;
    return !k || WriteConsoleW(h, wide, (DWORD)k, &done, NULL);
}
static intptr_t crt__console_write(crt__stdio_wake *w, HANDLE h, const char *text, size_t size)
{
    char some[512];
    DWORD n = (DWORD)crt__min(size, sizeof some - sizeof w->tail);
    memcpy(some, w->tail, w->tail_n);
    memcpy(some + w->tail_n, text, n);
    DWORD whole = crt__utf8_whole(some, w->tail_n + n);
    if (!crt__console_put(h, some, whole)) return crt__win_failed();
    w->tail_n = w->tail_n + n - whole;
    memcpy(w->tail, some + whole, w->tail_n);
    return (intptr_t)n;
}
static intptr_t crt__console_read(crt__stdio_wake *w, HANDLE h, char *text, size_t size)
{
    wchar_t wide[512];
    DWORD n = 0, kept = w->half ? 1 : 0;
    DWORD room = (DWORD)crt__min(size / 3, 510);   // a unit of UTF-16 is three bytes at most
    char few[16];
    wide[0] = w->half;
    crt__stdio_in_console(w, true);
    bool ok = ReadConsoleW(h, wide + kept, crt__max(room, 1), &n, NULL);
    DWORD e = GetLastError();
    crt__stdio_in_console(w, false);
    SetLastError(e);
    if (!ok) return crt__win_failed();
    if (!n && GetLastError() == ERROR_OPERATION_ABORTED) return errno = EINTR, -1;   // Ctrl-C
    if (n && wide[kept] == 0x1a) return 0;   // Ctrl-Z at the beginning of a line
    n += kept;
    w->half = 0;
    if (n && wide[n - 1] >= 0xd800 && wide[n - 1] <= 0xdbff) w->half = wide[--n];
    if (!n) return errno = EINTR, -1;
    if (room) return WideCharToMultiByte(CP_UTF8, 0, wide, (int)n, text, (int)crt__min(size, INT_MAX), NULL, NULL);
    // Less room than a character may need.
    int k = WideCharToMultiByte(CP_UTF8, 0, wide, (int)n, few, sizeof few, NULL, NULL);
    if ((size_t)k > size) return errno = EINVAL, -1;
    memcpy(text, few, (size_t)k);
    return k;
}
static intptr_t crt__stdio_move(crt__stdio_wake *w, int fd, void *buf, size_t n)
{
    HANDLE h = crt__stdio_handle(fd);
    DWORD mode, k = 0, some = (DWORD)crt__min(n, (size_t)1 << 20);
    intptr_t r;
    if (GetConsoleMode(h, &mode))
        r = fd ? crt__console_write(w, h, buf, n) : crt__console_read(w, h, buf, n);
    else if (fd ? WriteFile(h, buf, some, &k, NULL) : ReadFile(h, buf, some, &k, NULL)) r = (intptr_t)k;
    else r = crt__win_failed();
    if (r < 0 && errno == ECANCELED) errno = EINTR;
    if (r < 0 && errno == EPIPE && !fd) r = 0;   // who wrote is gone: the end
    return r;
}

// ---------------------------------------------------------------------------
// pipes
// ---------------------------------------------------------------------------
// Named pipes, as streams without a socket (crt__soft): a request for each direction, on
// a buffer of the pipe's own, whose completion comes through the port. What was written
// is on its way when the stream is closed: the record lives until that request has ended.

enum { CRT__PIPE_BUFFER = 16384 };
typedef struct crt__win_pipe_end {
    crt__soft soft;
    crt__port_call call;
    crt_runtime *rt;
    HANDLE handle;
    uint64_t token;
    struct crt__win_pipe_end *next, *prev;   // of the reactor: those that are closed but not done
    uint32_t lock;            // over what follows
    bool writes, busy, closed;
    int error;                // sticky; reading: 1 is the end
    size_t head, count;       // reading: what is there. Writing: count is on its way
    char data[CRT__PIPE_BUFFER];
} crt__win_pipe_end;

static crt__win_pipe_end *crt__pipe_end_of(struct crt__sock *s) { return (crt__win_pipe_end *)(void *)crt__soft_of(s); }
static void crt__pipe_end_free(crt__win_pipe_end *p)
{
    crt_runtime *rt = p->rt;
    CloseHandle(p->handle);
    crt__atomic_add(&rt->fd_deregistered, 1, CRT__RELAXED);
    crt__free(rt, p, sizeof *p);
}
static int crt__pipe_error(DWORD e) { return e == ERROR_IO_PENDING ? 0 : -crt__win_error(e); }
// Under the lock. 0, or what was wrong at once: then there is no completion.
static int crt__pipe_begin(crt__win_pipe_end *p)
{
    memset(&p->call.overlapped, 0, sizeof p->call.overlapped);
    BOOL ok = p->writes ? WriteFile(p->handle, p->data, (DWORD)p->count, NULL, &p->call.overlapped)
                        : ReadFile(p->handle, p->data, sizeof p->data, NULL, &p->call.overlapped);
    int e = ok ? 0 : crt__pipe_error(GetLastError());
    p->busy = !e;
    return e;
}
static void crt__pipe_unlist(crt__reactor *r, crt__win_pipe_end *p)
{
    crt__lock(&r->lock);
    if (p->prev) p->prev->next = p->next;
    else r->closing = p->next;
    if (p->next) p->next->prev = p->prev;
    crt__unlock(&r->lock);
}
static void crt__pipe_done(crt__port_call *call, crt_runtime *rt)
{
    crt__win_pipe_end *p = crt__container(call, crt__win_pipe_end, call);
    DWORD n = 0, e = 0;
    if (!GetOverlappedResult(p->handle, &call->overlapped, &n, FALSE)) e = GetLastError();
    crt__lock(&p->lock);
    p->busy = false;
    if (p->writes) {
        if (e) p->error = -crt__win_error(e);
    } else if (e) {
        p->error = e == ERROR_BROKEN_PIPE || e == ERROR_PIPE_NOT_CONNECTED ? 1 : -crt__win_error(e);
    } else {   // a message of no bytes is nothing
        p->head = 0;
        p->count = n;
    }
    bool closed = p->closed;
    uint64_t token = p->token;
    bool writes = p->writes;
    crt__unlock(&p->lock);
    if (closed) {
        crt__pipe_unlist(rt->reactor, p);
        crt__pipe_end_free(p);
    } else {
        (void)crt__sock_event(rt, token, writes ? CRT__WRITABLE : CRT__READABLE);
    }
}
// The pieces in turn, as far as there is something.
static crt_poll crt__pipe_take(crt__win_pipe_end *p, const crt_iovec *pieces, int count, bool peek)
{
    size_t k = 0;
    for (int i = 0; i < count; i++) {
        size_t some = crt__min(pieces[i].len, p->count - k);
        if (some) memcpy(pieces[i].base, p->data + p->head + k, some);
        k += some;
    }
    if (peek) return (crt_poll)k;
    p->head += k;
    p->count -= k;
    return (crt_poll)k;
}
static crt_poll crt__pipe_recvv(struct crt__sock *s, const crt_iovec *pieces, int count, bool peek)
{
    crt__win_pipe_end *p = crt__pipe_end_of(s);
    crt_poll k = CRT_EAGAIN;
    if (p->writes) return -EBADF;
    crt__lock(&p->lock);
    if (!p->busy && !p->count && !p->error) {
        int e = crt__pipe_begin(p);
        if (e) p->error = e == -EPIPE ? 1 : e;
    }
    if (!p->busy && p->count) k = crt__pipe_take(p, pieces, count, peek);
    else if (p->error) k = p->error == 1 ? 0 : p->error;
    crt__unlock(&p->lock);
    return k;
}
// As much of the pieces as the buffer takes, in one request.
static crt_poll crt__pipe_sendv(struct crt__sock *s, const crt_iovec *pieces, int count)
{
    crt__win_pipe_end *p = crt__pipe_end_of(s);
    crt_poll k = CRT_EAGAIN;
    if (!p->writes) return -EBADF;
    crt__lock(&p->lock);
    if (p->error) {
        k = p->error;
    } else if (!p->busy) {
        p->count = 0;
        for (int i = 0; i < count; i++) {
            size_t some = crt__min(pieces[i].len, sizeof p->data - p->count);
            if (some) memcpy(p->data + p->count, pieces[i].base, some);
            p->count += some;
        }
        int e = crt__pipe_begin(p);
        if (e) p->error = e;
        k = e ? e : (crt_poll)p->count;
    }
    crt__unlock(&p->lock);
    return k;
}
static crt_poll crt__pipe_recv(struct crt__sock *s, void *buf, size_t n, bool peek)
{
    crt_iovec piece = {buf, n};
    return crt__pipe_recvv(s, &piece, 1, peek);
}
static crt_poll crt__pipe_send(struct crt__sock *s, const void *buf, size_t n)
{
    crt_iovec piece = {(void *)(uintptr_t)buf, n};
    return crt__pipe_sendv(s, &piece, 1);
}
static crt_poll crt__pipe_several(struct crt__sock *s, bool out, const crt_iovec *pieces, int count)
{
    return out ? crt__pipe_sendv(s, pieces, count) : crt__pipe_recvv(s, pieces, count, false);
}
static int crt__pipe_shutdown(struct crt__sock *s, int how) { return (void)s, (void)how, 0; }
static void crt__pipe_close(struct crt__sock *s)
{
    crt__win_pipe_end *p = crt__pipe_end_of(s);
    crt__reactor *r = p->rt->reactor;
    crt__lock(&p->lock);
    bool busy = p->busy;
    if (busy) {
        crt__lock(&r->lock);
        p->next = r->closing;
        p->prev = NULL;
        if (p->next) p->next->prev = p;
        r->closing = p;
        crt__unlock(&r->lock);
        if (!p->writes) (void)CancelIoEx(p->handle, &p->call.overlapped);
    }
    p->closed = true;
    crt__unlock(&p->lock);
    if (!busy) crt__pipe_end_free(p);
}
static const crt__soft_ops crt__pipe_ops = {crt__pipe_recv, crt__pipe_send, crt__pipe_shutdown, crt__pipe_close, false,
                                            crt__pipe_several};

// A stream for our end of a pipe. The handle is the stream's, or closed. 0 or an error.
static int crt__win_pipe_stream(crt_runtime *rt, HANDLE handle, bool writes, crt_stream **out)
{
    crt__win_pipe_end *p = crt__alloc_zero(rt, sizeof *p);
    int e = CRT_ENOMEM;
    if (p && !CreateIoCompletionPort(handle, rt->reactor->port, CRT__KEY_CALL, 0)) {
        e = -crt__win_error(GetLastError());
        crt__free(rt, p, sizeof *p);
        p = NULL;
    }
    if (!p) return CloseHandle(handle), e;
    // Its event stays: a child that is given the handle waits for that (CRT_STDIO_STREAM).
    p->soft.ops = &crt__pipe_ops;
    p->call.done = crt__pipe_done;
    p->rt = rt;
    p->handle = handle;
    p->writes = writes;
    crt__atomic_add(&rt->fd_registered, 1, CRT__RELAXED);
    uint32_t ready = writes ? CRT__WRITABLE | CRT__READ_CLOSED : CRT__READABLE | CRT__WRITE_CLOSED;
    struct crt__sock *s = crt__soft_attach(rt, &p->soft, ready);
    if (!s) return crt__pipe_end_free(p), CRT_ENOMEM;
    p->token = crt__sock_token(s);
    *out = (crt_stream *)s;
    return 0;
}
// Two ends; `ours` is for requests, `theirs` too if so wanted, else for a child. The pipe
// has no name that a stranger could guess, nor may another process connect to it first.
static int crt__win_pipe_handles(bool ours_writes, bool both, HANDLE *ours, HANDLE *theirs)
{
    static uint32_t count;   // atomic
    wchar_t name[96];
    SECURITY_ATTRIBUTES inherit = {sizeof inherit, NULL, !both};
    swprintf(name, 96, L"\\\\.\\pipe\\crt-%lx-%x-%llx", GetCurrentProcessId(), crt__atomic_add(&count, 1, CRT__RELAXED),
             (unsigned long long)crt__clock());
    DWORD access = ours_writes ? PIPE_ACCESS_OUTBOUND : PIPE_ACCESS_INBOUND;
    *ours = CreateNamedPipeW(name, access | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
                             PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS, 1, 65536,
                             65536, 0, NULL);
    if (*ours == INVALID_HANDLE_VALUE) return -crt__win_error(GetLastError());
    access = ours_writes ? GENERIC_READ | FILE_WRITE_ATTRIBUTES : GENERIC_WRITE | FILE_READ_ATTRIBUTES;
    *theirs = CreateFileW(name, access, 0, &inherit, OPEN_EXISTING, both ? FILE_FLAG_OVERLAPPED : 0, NULL);
    if (*theirs != INVALID_HANDLE_VALUE) return 0;
    int e = -crt__win_error(GetLastError());
    CloseHandle(*ours);
    return e;
}
static int crt__win_pipe(crt_runtime *rt, crt_stream **rx, crt_stream **tx)
{
    HANDLE in, out;
    int e = crt__win_pipe_handles(false, true, &in, &out);
    if (e) return e;
    if ((e = crt__win_pipe_stream(rt, in, false, rx))) return CloseHandle(out), e;
    if ((e = crt__win_pipe_stream(rt, out, true, tx))) crt_stream_close(rx);
    return e;
}
// The runtime is gone: nobody takes completions out of the port any more but this.
static void crt__pipes_end(crt__reactor *r)
{
    ULONG n;
    for (crt__win_pipe_end *p = r->closing; p; p = p->next) (void)CancelIoEx(p->handle, &p->call.overlapped);
    // What nobody waits for either: completions of what was closed since it was posted.
    while (GetQueuedCompletionStatusEx(r->port, r->entries, (ULONG)r->max_events, &n, r->closing ? 1000 : 0, FALSE))
        for (ULONG i = 0; i < n; i++) {
            void *of = r->entries[i].lpOverlapped;
            if (r->entries[i].lpCompletionKey == CRT__KEY_CALL) ((crt__port_call *)of)->done(of, r->rt);
            else if (r->entries[i].lpCompletionKey == CRT__KEY_AFD) ((crt__afd_ask *)of)->asked = false;
        }
}
#endif

// ---------------------------------------------------------------------------
// sockets
// ---------------------------------------------------------------------------

#ifndef CRT_NO_NET
// Windows makes a file of a Unix socket, as others do.
static bool crt__is_socket_file(const char *path)
{
    wchar_t *wide = crt__win_path(path);
    if (!wide) return false;
    DWORD attributes = GetFileAttributesW(wide);
    CRT_FREE(wide);
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_REPARSE_POINT);
}
#ifndef TCP_KEEPIDLE
#define TCP_KEEPIDLE 3
#endif
#ifndef TCP_KEEPCNT
#define TCP_KEEPCNT 16
#define TCP_KEEPINTVL 17
#endif

// Errors of Winsock go to errno. -1
static int crt__sock_failed(void)
{
    int e = WSAGetLastError();
    errno = CRT__LIKELY(e == WSAEWOULDBLOCK) ? EAGAIN : crt__win_error((DWORD)e);
    return -1;
}
static int crt__sock_result(int r) { return CRT__LIKELY(r != SOCKET_ERROR) ? r : crt__sock_failed(); }
static int crt__os_bind(int fd, const struct sockaddr *a, socklen_t n)
{
    return crt__sock_result(bind((SOCKET)fd, a, n));
}
static int crt__os_listen(int fd, int backlog) { return crt__sock_result(listen((SOCKET)fd, backlog)); }
static int crt__os_connect(int fd, const struct sockaddr *a, socklen_t n)
{
    int r = crt__sock_result(connect((SOCKET)fd, a, n));
    if (r < 0 && errno == EAGAIN) errno = EINPROGRESS;
    return r;
}
static int crt__os_shutdown(int fd, int how) { return crt__sock_result(shutdown((SOCKET)fd, how)); }
static int crt__os_setsockopt(int fd, int level, int name, const void *value, socklen_t n)
{
    return crt__sock_result(setsockopt((SOCKET)fd, level, name, value, n));
}
static int crt__os_getsockopt(int fd, int level, int name, void *value, socklen_t *n)
{
    socklen_t room = *n;
    memset(value, 0, (size_t)room);   // some options fill a part
    int r = crt__sock_result(getsockopt((SOCKET)fd, level, name, value, n));
    if (r == 0 && level == SOL_SOCKET && name == SO_ERROR && room == sizeof(int)) {
        DWORD e;
        memcpy(&e, value, sizeof e);
        int mapped = crt__win_error(e);
        memcpy(value, &mapped, sizeof mapped);
    }
    return r;
}
static int crt__sock_family(crt__fd fd)
{
    WSAPROTOCOL_INFOW info;
    socklen_t n = sizeof info;
    const int protocol_info = 0x2005;   // SO_PROTOCOL_INFOW
    return crt__os_getsockopt((int)fd, SOL_SOCKET, protocol_info, &info, &n) ? -errno : info.iAddressFamily;
}
static int crt__os_getsockname(int fd, struct sockaddr *a, socklen_t *n)
{
    return crt__sock_result(getsockname((SOCKET)fd, a, n));
}
static int crt__os_getpeername(int fd, struct sockaddr *a, socklen_t *n)
{
    return crt__sock_result(getpeername((SOCKET)fd, a, n));
}
static uint32_t crt__os_if_index(const char *name)
{
    typedef ULONG(WINAPI * find)(const char *);
    find f = (find)crt__win_find(L"iphlpapi.dll", "if_nametoindex");
    return f ? f(name) : 0;
}
static ULONG crt__sock_size(size_t n) { return n > INT_MAX ? INT_MAX : (ULONG)n; }

// A datagram that is longer than the room for it is cut, and that is no error.
static intptr_t crt__sock_recvfrom(crt__fd fd, void *buf, size_t n, int flags, struct sockaddr *a, socklen_t *an,
                                   bool *cut)
{
    int k;
    do {   // a socket from elsewhere may tell here that an earlier send came to nothing
        k = recvfrom((SOCKET)fd, buf, (int)crt__sock_size(n), flags, a, an);
    } while (k < 0 && (WSAGetLastError() == WSAECONNRESET || WSAGetLastError() == WSAENETRESET));
    *cut = k < 0 && WSAGetLastError() == WSAEMSGSIZE;
    return *cut ? (intptr_t)n : crt__sock_result(k);
}
static intptr_t crt__os_recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *a, socklen_t *an)
{
    bool cut;
    return crt__sock_recvfrom(fd, buf, n, flags, a, an, &cut);
}
static intptr_t crt__os_sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *a, socklen_t an)
{
    if (n > INT_MAX) return errno = EMSGSIZE, -1;
    return crt__sock_result(sendto((SOCKET)fd, buf, (int)n, flags, a, an));
}
static int crt__nonblocking(SOCKET s)
{
    u_long on = 1;
    if (ioctlsocket(s, (long)FIONBIO, &on)) return -crt__win_error((DWORD)WSAGetLastError());
    (void)SetHandleInformation((HANDLE)s, HANDLE_FLAG_INHERIT, 0);
    return 0;
}
// Takes over s: the descriptor, or -errno.
static int crt__sock_prepared(SOCKET s)
{
    if (s == INVALID_SOCKET) return crt__sock_failed(), -errno;
    int e = s > INT_MAX ? -EMFILE : crt__nonblocking(s);
    if (!e) return (int)s;
    closesocket(s);
    return e;
}
static int crt__socket(int family, int type)
{
    const DWORD flags = WSA_FLAG_OVERLAPPED | 0x80;   // WSA_FLAG_NO_HANDLE_INHERIT
    SOCKET s = WSASocketW(family, type, 0, NULL, 0, flags);
    if (s != INVALID_SOCKET && type == SOCK_DGRAM) {
        // Or a datagram that nobody took would make the next receive fail.
        BOOL off = FALSE;
        DWORD n;
        const DWORD connreset = 0x9800000C, netreset = 0x9800000F;   // SIO_UDP_CONNRESET, SIO_UDP_NETRESET
        (void)WSAIoctl(s, connreset, &off, sizeof off, NULL, 0, &n, NULL, NULL);
        (void)WSAIoctl(s, netreset, &off, sizeof off, NULL, 0, &n, NULL, NULL);
    }
    return crt__sock_prepared(s);
}
// A peer that is gone by now is ECONNRESET here (wine: ENOTCONN, it has no name any more), and
// no error of the listener: its other connections wait.
static int crt__accept(crt__fd fd, struct sockaddr *sa, socklen_t *n)
{
    int got = crt__sock_prepared(accept((SOCKET)fd, sa, n));
    return got == -ECONNRESET || got == -ENOTCONN ? -ECONNABORTED : got;
}
static int crt__dup(crt__fd fd)
{
    WSAPROTOCOL_INFOW info;
    if (WSADuplicateSocketW((SOCKET)fd, GetCurrentProcessId(), &info)) return crt__sock_failed(), -errno;
    return crt__sock_prepared(WSASocketW(FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, &info, 0,
                                         WSA_FLAG_OVERLAPPED));
}
// Whether it was non-blocking cannot be asked: it goes back as blocking, which is usual.
static int crt__fd_prepare(crt__fd fd) { return crt__nonblocking((SOCKET)fd); }
static void crt__fd_restore(crt__fd fd, int flags)
{
    u_long off = 0;
    (void)flags;
    (void)ioctlsocket((SOCKET)fd, (long)FIONBIO, &off);
}
// No bytes, or none any more. The end of a stream may in truth be a cut: some (wine) do not
// say so themselves; and what was shut down for reading is at its end.
static CRT__COLD intptr_t crt__sock_end(crt__fd fd, int k)
{
    if (k < 0) return WSAGetLastError() == WSAESHUTDOWN ? 0 : crt__sock_failed();
    if (!(crt__afd_now(crt__afd_base((SOCKET)fd), CRT__AFD_ABORT) & CRT__AFD_ABORT)) return 0;
    errno = ECONNRESET;
    return -1;
}
static intptr_t crt__sock_recv(crt__fd fd, void *buf, size_t n)
{
    int k = recv((SOCKET)fd, buf, (int)crt__sock_size(n), 0);
    return CRT__LIKELY(k > 0) || (!k && !n) ? k : crt__sock_end(fd, k);
}
static intptr_t crt__sock_send(crt__fd fd, const void *buf, size_t n)
{
    return crt__sock_result(send((SOCKET)fd, buf, (int)crt__sock_size(n), 0));
}
static intptr_t crt__sock_peek(crt__fd fd, void *buf, size_t n)
{
    int k = recv((SOCKET)fd, buf, (int)crt__sock_size(n), MSG_PEEK);
    return k > 0 || (!k && !n) ? k : crt__sock_end(fd, k);
}
enum { CRT__WIN_PIECES = 32 };
static DWORD crt__sock_pieces(WSABUF *to, const crt__iovec *pieces, int count)
{
    DWORD n = (DWORD)crt__min(count, CRT__WIN_PIECES);
    for (DWORD i = 0; i < n; i++) {
        to[i].buf = pieces[i].iov_base;
        to[i].len = crt__sock_size(pieces[i].iov_len);
    }
    return n;
}
static intptr_t crt__sock_sendv(crt__fd fd, const crt__iovec *pieces, int count)
{
    WSABUF some[CRT__WIN_PIECES];
    DWORD n = crt__sock_pieces(some, pieces, count), sent = 0;
    return WSASend((SOCKET)fd, some, n, &sent, 0, NULL, NULL) ? crt__sock_failed() : (intptr_t)sent;
}
static intptr_t crt__fd_readv(crt__fd fd, const crt__iovec *pieces, int count)
{
    WSABUF some[CRT__WIN_PIECES];
    DWORD n = crt__sock_pieces(some, pieces, count), got = 0, flags = 0;
    int failed = WSARecv((SOCKET)fd, some, n, &got, &flags, NULL, NULL);   // 0 or -1
    return got && !failed ? (intptr_t)got : crt__sock_end(fd, failed);
}
// All that is no socket is a stream of another kind (crt__soft_ops).
static intptr_t crt__fd_writev(crt__fd fd, const crt__iovec *pieces, int count)
{
    return crt__sock_sendv(fd, pieces, count);
}
static intptr_t crt__sock_recv_many(crt__fd fd, crt_udp_msg *msgs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        crt_udp_msg *m = &msgs[i];
        socklen_t n = sizeof m->addr.u.bytes;
        bool cut;
        memset(&m->addr, 0, sizeof m->addr);
        intptr_t k = crt__sock_recvfrom(fd, m->buf, m->size, 0, (struct sockaddr *)(void *)m->addr.u.bytes, &n, &cut);
        if (k < 0) return i ? (intptr_t)i : k;
        m->len = (size_t)k;
        m->addr.len = (uint32_t)n;
        m->flags = cut ? CRT_UDP_TRUNCATED : 0;
    }
    return (intptr_t)count;
}
static intptr_t crt__sock_send_many(crt__fd fd, crt_udp_msg *msgs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        crt_udp_msg *m = &msgs[i];
        const struct sockaddr *a = m->addr.len ? (const struct sockaddr *)(const void *)m->addr.u.bytes : NULL;
        intptr_t k = crt__os_sendto((int)fd, m->buf, m->size, 0, a, (socklen_t)m->addr.len);
        if (k < 0) return i ? (intptr_t)i : k;
        m->len = (size_t)k;
    }
    return (intptr_t)count;
}
// Users have no numbers here.
static int crt__sock_peer_cred(crt__fd fd, crt_peer_cred *cred)
{
    const DWORD getpeerpid = 0x58000100;   // SIO_AF_UNIX_GETPEERPID
    ULONG pid = 0;
    DWORD n;
    if (WSAIoctl((SOCKET)fd, getpeerpid, NULL, 0, &pid, sizeof pid, &n, NULL, NULL)) return crt__sock_failed(), -errno;
    memset(cred, 0xff, sizeof *cred);
    cred->pid = (int)pid;
    return 0;
}
static int crt__sock_multicast_interface(crt__fd fd, uint32_t ifindex)
{
    DWORD index = htonl(ifindex);   // a number below 2^24 in place of an address
    if (ifindex >> 24) return CRT_EINVAL;
    return crt__os_setsockopt((int)fd, IPPROTO_IP, IP_MULTICAST_IF, &index, sizeof index) ? -errno : 0;
}
// Two sockets connected to each other over the loopback; a stranger who connects first
// is seen by its address and sent away.
static int crt__socket_pair_try(int listener, int fd[2])
{
    struct sockaddr_in a, mine, peer;
    socklen_t n = sizeof a, m = sizeof mine, p = sizeof peer;
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (crt__os_bind(listener, (struct sockaddr *)&a, n) || crt__os_listen(listener, 1) ||
        crt__os_getsockname(listener, (struct sockaddr *)&a, &n))
        return -errno;
    if ((fd[0] = crt__socket(AF_INET, SOCK_STREAM)) < 0) return fd[0];
    if (crt__os_connect(fd[0], (struct sockaddr *)&a, n) && errno != EINPROGRESS) return -errno;
    int e = crt__afd_wait(crt__afd_base((SOCKET)listener), CRT__AFD_ACCEPT);
    if (e) return e;
    if ((fd[1] = crt__accept(listener, (struct sockaddr *)&peer, &p)) < 0) return fd[1] == -EAGAIN ? -ETIMEDOUT : fd[1];
    if ((e = crt__afd_wait(crt__afd_base((SOCKET)fd[0]), CRT__AFD_SEND | CRT__AFD_CONNECT_FAIL))) return e;
    if (crt__os_getsockname(fd[0], (struct sockaddr *)&mine, &m)) return -errno;
    return mine.sin_port == peer.sin_port && peer.sin_addr.s_addr == a.sin_addr.s_addr ? 0 : -ECONNABORTED;
}
static int crt__socket_pair(int type, int fd[2])
{
    fd[0] = fd[1] = -1;
    if (type != SOCK_STREAM) return -EOPNOTSUPP;   // datagrams have no Unix sockets here
    int listener = crt__socket(AF_INET, SOCK_STREAM);
    if (listener < 0) return listener;
    int e = crt__socket_pair_try(listener, fd);
    crt__fd_close(listener);
    BOOL on = TRUE;
    for (int i = 0; i < 2; i++) {
        if (fd[i] < 0) continue;
        if (e) crt__fd_close(fd[i]);
        else (void)crt__os_setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    return e;
}
static int crt__fd_reasons_now(crt__fd fd, int reasons)
{
    ULONG ask = CRT__AFD_ABORT | CRT__AFD_CONNECT_FAIL;
    if (reasons & CRT_FD_READ) ask |= CRT__AFD_RECEIVE | CRT__AFD_ACCEPT | CRT__AFD_DISCONNECT;
    if (reasons & CRT_FD_WRITE) ask |= CRT__AFD_SEND;
    if (reasons & CRT_FD_PRIORITY) ask |= CRT__AFD_URGENT;
    uint32_t is = crt__afd_ready(crt__afd_now(crt__afd_base((SOCKET)fd), ask));
    return (is & CRT__READABLE ? reasons & CRT_FD_READ : 0) | (is & CRT__WRITABLE ? reasons & CRT_FD_WRITE : 0) |
           (is & CRT__PRIORITY ? CRT_FD_PRIORITY : 0) | (is & CRT__IO_ERROR ? CRT_FD_ERROR : 0) |
           (is & CRT__WRITE_CLOSED ? CRT_FD_HANGUP : 0);
}
#endif

// ---------------------------------------------------------------------------
// processes
// ---------------------------------------------------------------------------
// A child inherits the three handles that are meant for it and nothing else. One that is
// to die with its handle, or has a group of its own, is in a job: that dies with us, too.
// Its end comes from a thread of the system, by way of the port, to its record.

#ifndef CRT_NO_PROCESS
typedef struct crt__win_child {
    HANDLE process, job;
} crt__win_child;
typedef struct crt__win_start {
    wchar_t *program, *command, *env, *dir;   // env, dir: NULL: as ours
    HANDLE io[3];                             // the child's; NULL: none
    bool err_to_out, own_group, kill_on_drop;
} crt__win_start;

// The exit code of what we have killed: tells from what it says itself.
enum { CRT__KILLED_BY = 0x4c0de000 };

static bool crt__win_child_ended(crt__win_child *c, crt_exit_status *status)
{
    DWORD code = 0;
    if (WaitForSingleObject(c->process, 0) != WAIT_OBJECT_0 || !GetExitCodeProcess(c->process, &code)) return false;
    bool killed = (code & ~(DWORD)0xff) == CRT__KILLED_BY;
    status->code = killed ? -1 : (int)code;
    status->signal = killed ? (int)(code & 0xff) : 0;
    status->core_dumped = false;
    return true;
}
// Those that end a process end it; a group of its own hears Ctrl-Break. 0 or -errno.
static int crt__win_child_kill(crt__win_child *c, int pid, int sig, bool group)
{
    if (sig == 0) return 0;
    if (sig == SIGBREAK)
        return GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, (DWORD)pid) ? 0 : -crt__win_error(GetLastError());
    if (sig != 9 && sig != SIGTERM && sig != SIGINT && sig != SIGABRT) return -EINVAL;
    UINT code = CRT__KILLED_BY | (UINT)sig;
    if (group && c->job) return TerminateJobObject(c->job, code) ? 0 : -crt__win_error(GetLastError());
    if (TerminateProcess(c->process, code) || WaitForSingleObject(c->process, 0) == WAIT_OBJECT_0) return 0;
    return -crt__win_error(GetLastError());
}
static void crt__win_child_close(crt__win_child *c)
{
    if (c->process) CloseHandle(c->process);
    if (c->job) CloseHandle(c->job);
    c->process = c->job = NULL;
}
static void crt__win_start_free(crt__win_start *w)
{
    wchar_t *text[] = {w->program, w->command, w->env, w->dir};
    for (int i = 0; i < 4; i++)
        if (text[i]) CRT_FREE(text[i]);
    w->program = w->command = w->env = w->dir = NULL;
    for (int i = 0; i < 3; i++) {
        if (w->io[i]) CloseHandle(w->io[i]);
        w->io[i] = NULL;
    }
}
static int crt__win_inheritable(HANDLE h, HANDLE *out)
{
    HANDLE me = GetCurrentProcess();
    if (!h || h == INVALID_HANDLE_VALUE) return 0;   // we have none either
    return DuplicateHandle(me, h, me, out, 0, TRUE, DUPLICATE_SAME_ACCESS) ? 0 : -crt__win_error(GetLastError());
}
static int crt__win_null(HANDLE *out)
{
    SECURITY_ATTRIBUTES inherit = {sizeof inherit, NULL, TRUE};
    HANDLE h = CreateFileW(L"NUL", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, &inherit,
                           OPEN_EXISTING, 0, NULL);
    if (h == INVALID_HANDLE_VALUE) return -crt__win_error(GetLastError());
    *out = h;
    return 0;
}
// The handle of a pipe that has read nothing yet; NULL: it has none to give.
static HANDLE crt__win_pipe_handle(struct crt__sock *s)
{
    crt__soft *soft = crt__soft_of(s);
    crt__win_pipe_end *p = (crt__win_pipe_end *)(void *)soft;
    return soft->ops == &crt__pipe_ops && !p->busy && (p->writes || !p->count) ? p->handle : NULL;
}

// Text that grows, in UTF-16. `error` stays: the first, negative.
typedef struct crt__win_text {
    wchar_t *at;
    size_t n, room;
    int error;
} crt__win_text;
static void crt__text_put(crt__win_text *t, const wchar_t *from, size_t n)
{
    if (t->n + n + 2 > t->room) {
        size_t room = (t->n + n + 2) * 2;
        wchar_t *at = t->error ? NULL : CRT_MALLOC(room * sizeof *at);
        if (!at) {
            if (!t->error) t->error = CRT_ENOMEM;
            return;
        }
        if (t->n) memcpy(at, t->at, t->n * sizeof *at);
        if (t->at) CRT_FREE(t->at);
        t->at = at;
        t->room = room;
    }
    memcpy(t->at + t->n, from, n * sizeof *from);
    t->n += n;
}
static void crt__text_fill(crt__win_text *t, wchar_t c, size_t n)
{
    while (n--) crt__text_put(t, &c, 1);
}
// An argument as the C library takes it apart again: backslashes count only before a quote.
static void crt__text_argument(crt__win_text *t, const wchar_t *a)
{
    bool plain = *a && !wcspbrk(a, L" \t\n\v\"");
    size_t slashes = 0;
    if (t->n) crt__text_fill(t, L' ', 1);
    if (plain) {
        crt__text_put(t, a, wcslen(a));
        return;
    }
    crt__text_fill(t, L'"', 1);
    for (; *a; a++) {
        if (*a == L'\\') {
            slashes++;
            continue;
        }
        crt__text_fill(t, L'\\', *a == L'"' ? 2 * slashes + 1 : slashes);
        crt__text_put(t, a, 1);
        slashes = 0;
    }
    crt__text_fill(t, L'\\', 2 * slashes);
    crt__text_fill(t, L'"', 1);
}
static int crt__win_command(const crt_process_desc *d, wchar_t **out)
{
    crt__win_text t = {NULL, 0, 0, 0};
    for (const char *const *a = d->argv; *a; a++) {
        wchar_t *wide = crt__win_wide(*a);
        if (wide) crt__text_argument(&t, wide);
        else t.error = -errno;
        if (wide) CRT_FREE(wide);
    }
    crt__text_fill(&t, 0, 1);
    *out = t.at;
    return t.error;
}
static size_t crt__win_env_name(const wchar_t *entry)
{
    const wchar_t *end = *entry ? wcschr(entry + 1, L'=') : NULL;   // "=C:=..." is a name too
    return end ? (size_t)(end - entry) : wcslen(entry);
}
// The last of `env` that speaks of this name, to be freed. NULL: none does, or there is an *error.
static wchar_t *crt__win_env_says(const char *const *env, const wchar_t *name, size_t n, int *error)
{
    wchar_t *last = NULL;
    for (; env && *env; env++) {
        wchar_t *wide = crt__win_wide(*env);
        if (!wide) {
            *error = -errno;
            if (last) CRT_FREE(last);
            return NULL;
        }
        bool same = crt__win_env_name(wide) == n &&
                    CompareStringOrdinal(wide, (int)n, name, (int)n, TRUE) == CSTR_EQUAL;
        if (same && last) CRT_FREE(last);
        if (same) last = wide;
        else CRT_FREE(wide);
    }
    return last;
}
// An entry where it belongs: the block is sorted by name, as the system's own functions rely on.
static void crt__win_env_insert(crt__win_text *t, const wchar_t *entry)
{
    size_t n = wcslen(entry) + 1, name = crt__win_env_name(entry), before = 0, all = t->n;
    while (before < all) {
        const wchar_t *e = t->at + before;
        if (CompareStringOrdinal(e, (int)crt__win_env_name(e), entry, (int)name, TRUE) == CSTR_GREATER_THAN) break;
        before += wcslen(e) + 1;
    }
    crt__text_put(t, entry, n);
    if (t->error) return;
    memmove(t->at + before + n, t->at + before, (all - before) * sizeof *t->at);
    memcpy(t->at + before, entry, n * sizeof *t->at);
}
static int crt__win_env(const crt_process_desc *d, wchar_t **out)
{
    crt__win_text t = {NULL, 0, 0, 0};
    wchar_t *ours = d->env_clear ? NULL : GetEnvironmentStringsW();
    if (!ours && !d->env_clear) t.error = CRT_ENOMEM;
    for (wchar_t *e = ours; e && *e; e += wcslen(e) + 1) {
        wchar_t *said = crt__win_env_says(d->env, e, crt__win_env_name(e), &t.error);
        if (said) CRT_FREE(said);
        else crt__text_put(&t, e, wcslen(e) + 1);
    }
    for (const char *const *e = d->env; e && *e; e++) {
        wchar_t *wide = crt__win_wide(*e);
        wchar_t *said = wide ? crt__win_env_says(d->env, wide, crt__win_env_name(wide), &t.error) : NULL;
        if (said && *wide && wcschr(wide + 1, L'=') && !wcscmp(said, wide)) crt__win_env_insert(&t, wide);
        if (said) CRT_FREE(said);
        if (wide) CRT_FREE(wide);
        else t.error = -errno;
    }
    if (ours) FreeEnvironmentStringsW(ours);
    crt__text_fill(&t, 0, 2);
    *out = t.at;
    return t.error;
}
// Where the program is: a name alone is looked for in PATH, the child's if env sets one.
static int crt__win_program(const crt_process_desc *d, wchar_t **out)
{
    wchar_t *name = crt__win_wide(d->program ? d->program : d->argv[0]), *said = NULL, *path = NULL, found[1024];
    if (!name) return -errno;
    bool alone = !wcspbrk(name, L"\\/:");
    wchar_t whole[1024];   // or it would be looked for along the system's path
    DWORD n = alone ? 0 : GetFullPathNameW(name, 1024, whole, NULL);
    int e = alone || (n && n < 1024) ? 0 : -ENOENT;
    if (alone && (said = crt__win_env_says(d->env, L"PATH", 4, &e))) path = said[4] ? said + 5 : said + 4;
    if (alone && !said && !e && !d->env_clear) {
        DWORD room = GetEnvironmentVariableW(L"PATH", NULL, 0);
        path = said = CRT_MALLOC((room + 1) * sizeof *said);
        if (said) said[GetEnvironmentVariableW(L"PATH", said, room + 1)] = 0;
        else e = CRT_ENOMEM;   // without a path the system would look elsewhere
    }
    if (*name && !e) n = SearchPathW(alone ? path : NULL, alone ? name : whole, L".exe", 1024, found, NULL);
    if (!e && (!n || n >= 1024)) e = -ENOENT;
    DWORD is = e ? 0 : GetFileAttributesW(found);
    if (is != INVALID_FILE_ATTRIBUTES && (is & FILE_ATTRIBUTE_DIRECTORY)) e = -EACCES;
    if (!e && n > 4 && (!_wcsicmp(found + n - 4, L".bat") || !_wcsicmp(found + n - 4, L".cmd")))
        e = -ENOEXEC;   // the shell would take the arguments apart by its own rules
    if (!e && !(*out = CRT_MALLOC((n + 1) * sizeof **out))) e = CRT_ENOMEM;
    if (!e) memcpy(*out, found, (n + 1) * sizeof **out);
    if (said) CRT_FREE(said);
    CRT_FREE(name);
    return e;
}
static int crt__win_start_text(crt__win_start *w, const crt_process_desc *d)
{
    int e = crt__win_command(d, &w->command);
    if (!e && (d->env || d->env_clear)) e = crt__win_env(d, &w->env);
    if (!e && d->dir && !(w->dir = crt__win_wide(d->dir))) e = -errno;
    return e ? e : crt__win_program(d, &w->program);
}

// A job that ends with its last handle, if so wanted. NULL: it cannot be made.
static HANDLE crt__win_job(bool kill_on_drop)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits;
    HANDLE job = CreateJobObjectW(NULL, NULL);
    memset(&limits, 0, sizeof limits);
    // Children of the child may leave: it alone is to die.
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK |
                                              (kill_on_drop ? JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE : 0);
    if (job && kill_on_drop)
        (void)SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits);
    return job;
}
static int crt__win_child_start(crt__win_start *w, crt__win_child *c, int *pid)
{
    STARTUPINFOEXW start;
    PROCESS_INFORMATION made;
    HANDLE list[3];
    DWORD count = 0;
    SIZE_T size = 0;
    memset(&start, 0, sizeof start);
    start.StartupInfo.cb = sizeof start;
    start.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    start.StartupInfo.hStdInput = w->io[0];
    start.StartupInfo.hStdOutput = w->io[1];
    start.StartupInfo.hStdError = w->err_to_out ? w->io[1] : w->io[2];
    for (int i = 0; i < 3; i++)
        if (w->io[i]) list[count++] = w->io[i];
    (void)InitializeProcThreadAttributeList(NULL, 1, 0, &size);
    if (!(start.lpAttributeList = CRT_MALLOC(size))) return CRT_ENOMEM;
    BOOL listed = InitializeProcThreadAttributeList(start.lpAttributeList, 1, 0, &size), ok = listed;
    if (ok && count)
        ok = UpdateProcThreadAttribute(start.lpAttributeList, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, list,
                                       count * sizeof *list, NULL, NULL);
    DWORD flags = CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT | CREATE_SUSPENDED |
                  (w->own_group ? CREATE_NEW_PROCESS_GROUP : 0);
    if (ok)
        ok = CreateProcessW(w->program, w->command, NULL, NULL, count > 0, flags, w->env, w->dir, &start.StartupInfo,
                            &made);
    int e = ok ? 0 : -crt__win_error(GetLastError());
    if (e == -ENOTDIR && w->dir && GetFileAttributesW(w->dir) == INVALID_FILE_ATTRIBUTES) e = -ENOENT;
    if (listed) DeleteProcThreadAttributeList(start.lpAttributeList);
    CRT_FREE(start.lpAttributeList);
    if (e) return e;
    c->process = made.hProcess;
    if (w->kill_on_drop || w->own_group) c->job = crt__win_job(w->kill_on_drop && !w->own_group);
    if (c->job && !AssignProcessToJobObject(c->job, made.hProcess)) {   // to end an empty job ends nobody
        CloseHandle(c->job);
        c->job = NULL;
    }
    if (ResumeThread(made.hThread) == (DWORD)-1) {   // it has not begun, and never will
        e = -crt__win_error(GetLastError());
        (void)TerminateProcess(made.hProcess, CRT__KILLED_BY);
        crt__win_child_close(c);
    }
    CloseHandle(made.hThread);
    if (!e) *pid = (int)made.dwProcessId;
    return e;
}

// Waits for a child's end. state: 0 waits, 1 its completion is in the port, 2 closed with
// that, 3 it was told.
typedef struct crt__win_watch {
    crt__soft soft;
    crt__port_call call;
    HANDLE wait;
    crt_runtime *rt;
    uint64_t token;
    uint32_t state;   // atomic
} crt__win_watch;

static void crt__watch_free(crt__win_watch *w)
{
    crt_runtime *rt = w->rt;
    crt__atomic_add(&rt->fd_deregistered, 1, CRT__RELAXED);
    crt__free(rt, w, sizeof *w);
}
static void CALLBACK crt__watch_ended(void *arg, BOOLEAN late)
{
    crt__win_watch *w = arg;
    (void)late;
    crt__atomic_store(&w->state, 1, CRT__SEQ_CST);
    crt__port_post(w->rt->reactor->port, CRT__KEY_CALL, &w->call.overlapped);
}
static void crt__watch_done(crt__port_call *call, crt_runtime *rt)
{
    crt__win_watch *w = crt__container(call, crt__win_watch, call);
    uint32_t posted = 1;
    uint64_t token = w->token;
    if (crt__atomic_cas(&w->state, &posted, 3, CRT__ACQ_REL, CRT__ACQUIRE))
        (void)crt__sock_event(rt, token, CRT__READABLE);
    else crt__watch_free(w);
}
// After the call that may be under way: then either nothing was posted, or it is known.
static void crt__watch_close(struct crt__sock *s)
{
    crt__win_watch *w = (crt__win_watch *)(void *)crt__soft_of(s);
    uint32_t posted = 1;
    if (w->wait) (void)UnregisterWaitEx(w->wait, INVALID_HANDLE_VALUE);
    if (!crt__atomic_cas(&w->state, &posted, 2, CRT__ACQ_REL, CRT__ACQUIRE)) crt__watch_free(w);
}
static const crt__soft_ops crt__watch_ops = {NULL, NULL, NULL, crt__watch_close, false, NULL};

static int crt__win_child_watch(crt_runtime *rt, crt__win_child *c, struct crt__sock **out)
{
    crt__win_watch *w = crt__alloc_zero(rt, sizeof *w);
    struct crt__sock *s;
    if (!w) return CRT_ENOMEM;
    w->soft.ops = &crt__watch_ops;
    w->call.done = crt__watch_done;
    w->rt = rt;
    crt__atomic_add(&rt->fd_registered, 1, CRT__RELAXED);
    if (!(s = crt__soft_attach(rt, &w->soft, 0))) return crt__watch_free(w), CRT_ENOMEM;
    w->token = crt__sock_token(s);
    if (!RegisterWaitForSingleObject(&w->wait, c->process, crt__watch_ended, w, INFINITE, WT_EXECUTEONLYONCE)) {
        int e = -crt__win_error(GetLastError());
        w->wait = NULL;
        crt_stream_close((crt_stream **)(void *)&s);
        return e;
    }
    *out = s;
    return 0;
}
#endif

// ---------------------------------------------------------------------------
// signals
// ---------------------------------------------------------------------------
// Ctrl-C is SIGINT, Ctrl-Break SIGBREAK; the end of the console or of the system is
// SIGTERM. The handler runs on a thread that the system makes for it; what the
// program raises itself (raise) comes through the C library, on the thread that does.

static void crt__signal_raised(int sig)
{
    crt__signal_set(sig);
    AcquireSRWLockExclusive(&crt__signal_watchers.lock);
    for (crt__reactor *r = crt__signal_watchers.first; r; r = r->next)
        crt__port_post(r->port, CRT__KEY_SIGNAL, NULL);
    ReleaseSRWLockExclusive(&crt__signal_watchers.lock);
}
static void __cdecl crt__signal_from_c(int sig)
{
    (void)signal(sig, crt__signal_from_c);   // the C library takes it away each time
    crt__signal_raised(sig);
}
static BOOL WINAPI crt__signal_from_console(DWORD event)
{
    int sig = event == CTRL_C_EVENT ? SIGINT : event == CTRL_BREAK_EVENT ? SIGBREAK : SIGTERM;
    if (event == CTRL_LOGOFF_EVENT) return FALSE;   // of any user: services alone hear of it, and go on
    if (!crt__signal_is_hooked(sig)) return FALSE;
    crt__signal_raised(sig);
    // When this returns from one of the others, the process is ended: the program has the
    // time that the system allows (5 s or more) to end by itself.
    if (sig == SIGTERM) Sleep(INFINITE);
    return TRUE;
}
// The reactor of rt is told of signals from now on. 0 or -errno.
static int crt__signal_subscribe(crt_runtime *rt)
{
    crt__reactor *r = rt->reactor;
    AcquireSRWLockExclusive(&crt__signal_watchers.lock);
    if (!r->watches) {
        r->next = crt__signal_watchers.first;
        if (r->next) r->next->prev = r;
        crt__signal_watchers.first = r;
        r->watches = true;
        crt__atomic_add(&rt->fd_registered, 1, CRT__RELAXED);
    }
    ReleaseSRWLockExclusive(&crt__signal_watchers.lock);
    return 0;
}
static int crt__signal_hook(int sig)
{
    // For SIGINT the C library installs a handler of the console too: ours comes after
    // it, and is asked first.
    void(__cdecl * before)(int) = signal(sig, crt__signal_from_c);
    if (before == SIG_ERR) return -errno;
    (void)SetConsoleCtrlHandler(crt__signal_from_console, FALSE);
    if (SetConsoleCtrlHandler(crt__signal_from_console, TRUE)) return 0;
    int e = -crt__win_error(GetLastError());
    (void)signal(sig, before);
    return e;
}
static bool crt__signal_allowed(int sig) { return sig == SIGINT || sig == SIGTERM || sig == SIGBREAK; }
#define crt__signal_drain() ((void)0)

#endif   // CRT_PLATFORM_IOCP_H
