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

#include <process.h>
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
static CRT__TLS HANDLE crt__thread_handle;

static unsigned __stdcall crt__thread_entry(void *arg)
{
    crt__thread_begin_with with = *(crt__thread_begin_with *)arg;
    CRT_FREE(arg);
    crt__thread_handle = with.self;
    with.fn(with.arg);
    return 0;
}
static int crt__thread_start(crt__thread *thread, void *(*fn)(void *), void *arg, size_t stack)
{
    crt__thread_begin_with *with = CRT_MALLOC(sizeof *with);
    if (!with) return CRT_ENOMEM;
    unsigned size = stack > UINT_MAX ? UINT_MAX : (unsigned)stack;
    unsigned flags = CREATE_SUSPENDED | (stack ? STACK_SIZE_PARAM_IS_A_RESERVATION : 0);
    with->fn = fn;
    with->arg = arg;
    *thread = with->self = (HANDLE)_beginthreadex(NULL, size, crt__thread_entry, with, flags, NULL);
    if (!*thread) {
        CRT_FREE(with);
        return -errno;
    }
    ResumeThread(*thread);
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
    uint32_t lock;    // over the growing of the table
    crt__afd_block *block[CRT__AFD_BLOCKS];   // atomic: 64, 128, 256, ... records
    bool watches;     // in the list below
    crt__reactor *next, *prev;
    OVERLAPPED_ENTRY entries[];
};
// Who is told of signals.
static struct {
    uint32_t lock;
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
static void crt__reactor_wake(crt__reactor *r)
{
    // One in the port is enough: whoever takes it out clears the word first.
    if (!crt__atomic_xchg(&r->woken, 1, CRT__SEQ_CST)) PostQueuedCompletionStatus(r->port, 0, CRT__KEY_WAKE, NULL);
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
        if (!f) return -ENOSYS;                                                            \
        memcpy(&crt__afd.member, &f, sizeof f);                                            \
    }
    CRT__NT(control, "NtDeviceIoControlFile")
    CRT__NT(create, "NtCreateFile")
    CRT__NT(cancel, "NtCancelIoFileEx")
    CRT__NT(error, "RtlNtStatusToDosError")
#undef CRT__NT
    return crt__afd_open(true, &crt__afd.device);
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
// Which of `events` hold now; 0 also if it cannot be told.
static ULONG crt__afd_now(HANDLE socket, ULONG events)
{
    crt__afd_info info;
    IO_STATUS_BLOCK status;
    memset(&info, 0, sizeof info);
    info.count = 1;
    info.handle = socket;
    info.events = events;
    LONG e = crt__afd.control(crt__afd.device, NULL, NULL, NULL, &status, CRT__AFD_IOCTL, &info, sizeof info, &info,
                              sizeof info);
    return e == 0 && info.count ? info.events : 0;
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
    ask->info.events = events[direction];
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
static void crt__reactor_want(crt__reactor *r, uint64_t token, uint32_t bits)
{
    static const uint32_t of[CRT__AFD_WAYS] = {CRT__READABLE, CRT__WRITABLE, CRT__PRIORITY};
    crt__afd_record *record = crt__afd_at(r, token);
    bool failed = false;
    if (!record) return;   // nothing that AFD knows
    crt__lock(&record->lock);
    for (uint32_t i = 0; i < CRT__AFD_WAYS && record->socket && record->token == token; i++) {
        crt__afd_ask *ask = &record->ask[i];
        if (!(bits & of[i])) continue;
        if (!ask->asked) failed |= !crt__afd_ask_for(record, i);
        else if (ask->token != token) ask->wanted = true;
    }
    crt__unlock(&record->lock);
    if (failed) crt__io_event(r->rt, token, bits | CRT__IO_ERROR);   // the operation itself will say what it is
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

static crt__reactor *crt__reactor_new(crt_runtime *rt, int max_events, int *error)
{
    crt__reactor *r = NULL;
    if ((*error = crt__net_begin())) return NULL;
    *error = CRT_ENOMEM;
    if (!(r = crt__alloc_zero(rt, crt__reactor_bytes(max_events)))) return NULL;
    r->rt = rt;
    r->max_events = max_events;
    r->port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);   // one thread at a time
    if (r->port) return r;
    *error = -crt__win_error(GetLastError());
    crt__free(rt, r, crt__reactor_bytes(max_events));
    return NULL;
}
static void crt__reactor_free(crt_runtime *rt, crt__reactor *r)
{
    crt__lock(&crt__signal_watchers.lock);
    if (r->watches) {
        if (r->prev) r->prev->next = r->next;
        else crt__signal_watchers.first = r->next;
        if (r->next) r->next->prev = r->prev;
    }
    crt__unlock(&crt__signal_watchers.lock);
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
// signals
// ---------------------------------------------------------------------------
// Ctrl-C is SIGINT, Ctrl-Break SIGBREAK; the end of the console, the session or the
// system is SIGTERM. The handler runs on a thread that the system makes for it; what the
// program raises itself (raise) comes through the C library, on the thread that does.

static void crt__signal_raised(int sig)
{
    crt__signal_set(sig);
    crt__lock(&crt__signal_watchers.lock);
    for (crt__reactor *r = crt__signal_watchers.first; r; r = r->next)
        PostQueuedCompletionStatus(r->port, 0, CRT__KEY_SIGNAL, NULL);
    crt__unlock(&crt__signal_watchers.lock);
}
static void __cdecl crt__signal_from_c(int sig)
{
    (void)signal(sig, crt__signal_from_c);   // the C library takes it away each time
    crt__signal_raised(sig);
}
static BOOL WINAPI crt__signal_from_console(DWORD event)
{
    int sig = event == CTRL_C_EVENT ? SIGINT : event == CTRL_BREAK_EVENT ? SIGBREAK : SIGTERM;
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
    crt__lock(&crt__signal_watchers.lock);
    if (!r->watches) {
        r->next = crt__signal_watchers.first;
        if (r->next) r->next->prev = r;
        crt__signal_watchers.first = r;
        r->watches = true;
        crt__atomic_add(&rt->fd_registered, 1, CRT__RELAXED);
    }
    crt__unlock(&crt__signal_watchers.lock);
    return 0;
}
static int crt__signal_hook(int sig)
{
    // For SIGINT the C library installs a handler of the console too: ours comes after
    // it, and is asked first.
    if (signal(sig, crt__signal_from_c) == SIG_ERR) return -errno;
    (void)SetConsoleCtrlHandler(crt__signal_from_console, FALSE);
    return SetConsoleCtrlHandler(crt__signal_from_console, TRUE) ? 0 : -crt__win_error(GetLastError());
}
static bool crt__signal_allowed(int sig) { return sig == SIGINT || sig == SIGTERM || sig == SIGBREAK; }
#define crt__signal_drain() ((void)0)

#endif   // CRT_PLATFORM_IOCP_H
