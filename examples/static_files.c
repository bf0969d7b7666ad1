// static_files.c: serves the files below a directory over HTTP/1.1, on the loopback interface.
//
//     ./static_files [directory] [port]          (., 8081; 0: any)
//
// GET and HEAD, keep-alive and pipelining, one range a GET, the conditions of HTTP by
// date (there are no entity tags), index.html or a list for a directory, content types
// by name.
//
// Safe paths: a request names its file from the directory down, one part at a time, each
// opened relative to the one above it and never through a symbolic link; parts that begin
// with a dot are not there. So nothing outside can be reached, not even if somebody
// changes the tree meanwhile, which checking a path first could not promise.
//
// Files may stall, so they are opened and read on the blocking pool: one hop for a file
// of up to 64 KiB, one more for each further piece. A job works on memory of its own (a
// "loan"), which outlives the job whatever happens to the connection. Every wait for a
// peer has a deadline; an idle connection owns no buffer. Ctrl-C (or SIGTERM): stops
// accepting, lets answers that are under way finish, ends with status 0.
//
// Read from the bottom: main, server, acceptor, conn, head, then files and parser.

#define _FILE_OFFSET_BITS 64
#define CRT_IMPLEMENTATION
#include "../crt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#ifndef _WIN32
#include <sys/resource.h>
#endif
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE_BYTES = 4 * 1024,     // of a line of a request's head
    HEAD_LINES = 64,
    PATH_BYTES = 1024,
    PIECE = 64 * 1024,         // of a file, read and written at a time
    LISTED_MAX = 1000,         // names in a list
    CONNECTIONS_MAX = 10000
};
#define IDLE_TIMEOUT CRT_SEC(15)     // between two requests
#define HEAD_TIMEOUT CRT_SEC(5)      // for the whole head of a request
#define WRITE_TIMEOUT CRT_SEC(10)    // for each piece
#define LINGER_TIMEOUT CRT_MS(250)
#define STOP_TIMEOUT CRT_SEC(1)

static struct {
    int root;
    crt_cancel_token *stop;
    crt_semaphore slots;
    size_t slot_count;
    atomic_llong connections;
    atomic_ullong requests, errors, bytes;
} app = {.root = -1};

// ---- A request ------------------------------------------------------------------

typedef struct request {
    int status;               // 200, or what is wrong with it
    bool head, http10;
    bool close;               // the connection ends with the answer
    bool asks_close, asks_keep_alive;
    bool has_range, has_since, has_if_range;
    bool none_match, none_match_any;   // If-None-Match: given; "*"
    bool match, match_tag;             // If-Match: given; not "*"
    bool has_unmodified;
    int hosts;
    int64_t first, last;      // as asked: -1: not given ("-500" is first -1, last 500)
    int64_t since, unmodified, if_range;   // seconds since 1970
    char path[PATH_BYTES];    // decoded, without "." and empty parts: "a/b", "a/b/", ""
} request;

static const char *reason(int status)
{
    switch (status) {
    case 200: return "OK";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 412: return "Precondition Failed";
    case 416: return "Range Not Satisfiable";
    case 431: return "Request Header Fields Too Large";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Internal Server Error";
    }
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}
// A host and perhaps a port, or nothing: is each byte one that may be there?
static bool is_authority(const char *text, size_t n)
{
    static const char name[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%!$&'()*+,;=:";
    const char *const port = "0123456789", *p = text;
    const bool brackets = *p == '[';   // an IPv6 address: the only place for more than one colon
    if (brackets) p++;
    while (p < text + n && strchr(name, *p) && (brackets || *p != ':')) p++;
    if (brackets && (p == text + 1 || p++ == text + n || p[-1] != ']')) return false;
    if (p < text + n && *p == ':') p += 1 + strspn(p + 1, port);
    return p == text + n;
}
// The path of a target, decoded. 200, or 400, 404.
static int parse_path(const char *target, char *out)
{
    if (strncasecmp(target, "http://", 7) == 0) {   // as a proxy is asked
        const char *host = target + 7;
        const size_t n = strcspn(host, "/?#");   // a slash in the query begins no path
        if (n == 0 || !is_authority(host, n)) return 400;
        target = host[n] == '/' ? host + n : "/";
    }
    if (*target != '/') return 400;
    size_t n = 0, part = 0;   // bytes in out; where the present part begins
    for (const char *p = target + 1; *p && *p != '?' && *p != '#'; p++) {
        char c = *p;
        if (c == '%') {
            if (hex_digit(p[1]) < 0 || hex_digit(p[2]) < 0) return 400;
            c = (char)(hex_digit(p[1]) * 16 + hex_digit(p[2]));
            p += 2;
            if (c == '/') return 404;   // cannot be in a name
        }
        if ((unsigned char)c < ' ' || c == 127) return 400;
        if (c == '/') {
            if (n == part) continue;   // an empty part
            part = n + 1;
        } else if (c == '.' && n == part) {
            return 404;   // ".", ".." and hidden files are not there
        }
        if (n + 1 >= PATH_BYTES) return 404;
        out[n++] = c;
    }
    out[n] = '\0';
    return 200;
}

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
// "Sunday, 06-Nov-94 ...": which of the years that end so? None that is more than 50 ahead.
static int full_year(int year)
{
    const int now = 1970 + (int)(time(NULL) / 31556952);   // seconds of a mean year
    if (year < 0) return -1;
    year += now - now % 100;
    return year > now + 50 ? year - 100 : year;
}
// "Sun, 06 Nov 1994 08:49:37 GMT" to seconds since 1970, and the two older forms that a
// server has to understand. False: it is none of them.
static bool parse_date(const char *text, int64_t *out)
{
    int day, year, hour, minute, second, used = 0;
    char month[4];
    sscanf(text, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n",
           &day, month, &year, &hour, &minute, &second, &used);   // used: only if all of it was there
    if (used == 0) {
        sscanf(text, "%*9[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d GMT%n",
               &day, month, &year, &hour, &minute, &second, &used);
        if (used > 0) year = full_year(year);
    }
    if (used == 0)
        sscanf(text, "%*3[A-Za-z] %3[A-Za-z] %2d %2d:%2d:%2d %4d%n",
               month, &day, &hour, &minute, &second, &year, &used);
    if (used == 0 || text[used] || strlen(month) != 3) return false;
    const char *found = strstr(months, month);
    if (!found || (found - months) % 3 != 0 || year < 1900 || day < 1 || day > 31 || hour < 0 || hour > 23 ||
        minute < 0 || minute > 59 || second < 0 || second > 60) return false;
    // Days since 1970 by the civil calendar, the year beginning in March.
    const int m = (int)(found - months) / 3 + 1, y = year - (m <= 2);
    const int64_t days = (int64_t)y * 365 + y / 4 - y / 100 + y / 400 + (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + day - 1 - 719468;
    *out = days * 86400 + hour * 3600 + minute * 60 + second;
    return true;
}
// "bytes=0-99", "bytes=100-", "bytes=-500". What is anything else, several ranges say,
// counts as not asked.
static bool parse_range(const char *text, int64_t *first, int64_t *last)
{
    if (strncasecmp(text, "bytes=", 6) != 0) return false;
    int64_t value[2] = {-1, -1};
    int i = 0;
    for (const char *p = text + 6; *p; p++) {
        if (*p == '-' && i == 0) {
            i = 1;
        } else if (*p >= '0' && *p <= '9') {
            const int digit = *p - '0';   // a number that is too large is one beyond the end of any file
            value[i] = value[i] < 0 ? digit : value[i] > (INT64_MAX - digit) / 10 ? INT64_MAX : value[i] * 10 + digit;
        } else {
            return false;
        }
    }
    *first = value[0];
    *last = value[1];
    return i == 1 && (value[0] >= 0 || value[1] >= 0) && (value[0] < 0 || value[1] < 0 || value[0] <= value[1]);
}
// The first complaint counts. We do not know where such a request ends: nothing follows it.
static void refuse(request *r, int status)
{
    if (!r->close) r->status = status;
    r->close = true;
}
static bool has_control(const char *text)
{
    for (; *text; text++)
        if (((unsigned char)*text < ' ' && *text != '\t') || *text == 127) return true;
    return false;
}
// The name of a field: visible characters that separate nothing.
static bool is_token(const char *text)
{
    const char *p = text;
    while (*p > ' ' && *p < 127 && !strchr("\"(),/:;<=>?@[\\]{}", *p)) p++;
    return p > text && !*p;
}
// Is the word one of those that commas separate?
static bool lists(const char *words, const char *word)
{
    const size_t n = strlen(word);
    for (const char *p = words; *p; p += strcspn(p, ",")) {
        p += strspn(p, ", \t");
        if (strncasecmp(p, word, n) == 0 && strchr(", \t", p[n])) return true;   // strchr finds the end, too
    }
    return false;
}
// 200: HTTP/1.x, of which what is later than 1.1 is served as that. 505: another HTTP. 400: something else.
static int check_version(const char *v)
{
    if (strncmp(v, "HTTP/", 5) != 0 || v[5] < '0' || v[5] > '9'
        || v[6] != '.' || v[7] < '0' || v[7] > '9' || v[8]) return 400;
    return v[5] == '1' ? 200 : 505;
}
static void parse_request_line(char *line, request *r)
{
    char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL;
    if (!version || strchr(version + 1, ' ') || has_control(line)) {
        refuse(r, 400);
        return;
    }
    *target++ = '\0';
    *version++ = '\0';
    r->http10 = strcmp(version, "HTTP/1.0") == 0;
    r->head = strcmp(line, "HEAD") == 0;
    if (check_version(version) != 200) refuse(r, check_version(version));
    else if (!r->head && strcmp(line, "GET") != 0) refuse(r, 405);
    else if ((r->status = parse_path(target, r->path)) == 400) refuse(r, 400);
}
static void parse_header(char *line, request *r)
{
    char *value = strchr(line, ':');
    if (value) *value++ = '\0';
    // A space in the name also catches a line that continues the one before.
    if (!value || !is_token(line) || has_control(value)) {
        refuse(r, 400);
        return;
    }
    while (*value == ' ' || *value == '\t') value++;
    for (size_t n = strlen(value); n > 0 && (value[n - 1] == ' ' || value[n - 1] == '\t'); n--) value[n - 1] = '\0';
    if (strcasecmp(line, "Host") == 0) {
        r->hosts++;
        if (!is_authority(value, strlen(value))) refuse(r, 400);
    } else if (strcasecmp(line, "Connection") == 0) {
        r->asks_close |= lists(value, "close");
        r->asks_keep_alive |= lists(value, "keep-alive");
    } else if (strcasecmp(line, "Range") == 0) {
        r->has_range = parse_range(value, &r->first, &r->last);
    } else if (strcasecmp(line, "If-Modified-Since") == 0) {
        r->has_since = parse_date(value, &r->since);
    } else if (strcasecmp(line, "If-Unmodified-Since") == 0) {
        r->has_unmodified = parse_date(value, &r->unmodified);
    } else if (strcasecmp(line, "If-Match") == 0) {
        r->match = true;
        r->match_tag |= strcmp(value, "*") != 0;
    } else if (strcasecmp(line, "If-None-Match") == 0) {
        r->none_match = true;
        r->none_match_any |= strcmp(value, "*") == 0;
    } else if (strcasecmp(line, "If-Range") == 0) {
        r->has_if_range = true;
        if (!parse_date(value, &r->if_range)) r->if_range = -1;   // a tag, which we never gave out
    } else if ((strcasecmp(line, "Content-Length") == 0 && strcmp(value, "0") != 0) || strcasecmp(line, "Transfer-Encoding") == 0) {
        refuse(r, 400);   // a body: neither GET nor HEAD has one
    }
}
// What the head says as a whole.
static void end_head(request *r)
{
    if (r->hosts > 1 || (r->hosts == 0 && !r->http10)) refuse(r, 400);
    if (r->asks_close || (r->http10 && !r->asks_keep_alive)) r->close = true;
}

// ---- Files, on the blocking pool --------------------------------------------------

typedef struct loan {
    request r;
    int fd;
    int64_t size, at, left;   // of the file; where to read on, how much of the answer is left
    int64_t modified;
    const char *type;
    int error;                // of a read: -errno, or CRT_EEOF: the file has become shorter
    char head[2048];
    size_t head_length;
    size_t n;                 // bytes in data
    char data[PIECE];
} loan;

static const char *type_of(const char *path)
{
    static const struct { const char *end, *type; } types[] = {
        {".html", "text/html; charset=utf-8"}, {".htm", "text/html; charset=utf-8"}, {".css", "text/css; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"}, {".mjs", "text/javascript; charset=utf-8"}, {".json", "application/json"},
        {".txt", "text/plain; charset=utf-8"}, {".md", "text/plain; charset=utf-8"}, {".c", "text/plain; charset=utf-8"},
        {".h", "text/plain; charset=utf-8"}, {".xml", "text/xml; charset=utf-8"}, {".svg", "image/svg+xml"}, {".png", "image/png"},
        {".jpg", "image/jpeg"}, {".jpeg", "image/jpeg"}, {".gif", "image/gif"}, {".webp", "image/webp"}, {".ico", "image/x-icon"},
        {".pdf", "application/pdf"}, {".wasm", "application/wasm"}, {".woff2", "font/woff2"}, {".mp4", "video/mp4"},
        {".webm", "video/webm"}, {".mp3", "audio/mpeg"}, {".zip", "application/zip"}, {".gz", "application/gzip"},
    };
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof types[0]; i++)
        if (strcasecmp(dot, types[i].end) == 0) return types[i].type;
    return "application/octet-stream";
}

#ifdef _WIN32
// Windows has no openat, fstat of a directory or pread. The same over handles: an open
// directory is asked where it is; what is opened is never what a link leads to, and has to
// bear the name that was asked for (a short name, "GIT~1", is another).
enum { O_DIRECTORY = 1 << 24, O_CLOEXEC = 0, O_NOFOLLOW = 0, O_NONBLOCK = 0, WIDE = 4096 };
static HANDLE handle_of(int fd) { return (HANDLE)_get_osfhandle(fd); }
static int failed_with(int e) { return errno = e, -1; }
static int open_wide(const wchar_t *path, int flags)
{
    HANDLE h = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                           FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    BY_HANDLE_FILE_INFORMATION info;
    if (h == INVALID_HANDLE_VALUE) {
        const DWORD e = GetLastError();
        return failed_with(e == ERROR_ACCESS_DENIED || e == ERROR_SHARING_VIOLATION ? EACCES : e == ERROR_TOO_MANY_OPEN_FILES ? EMFILE : ENOENT);
    }
    const bool known = GetFileType(h) == FILE_TYPE_DISK && GetFileInformationByHandle(h, &info);
    const int fd = !known || (info.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) ? failed_with(ELOOP) :
        (flags & O_DIRECTORY) && !(info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) ? failed_with(ENOTDIR) :
        _open_osfhandle((intptr_t)h, _O_RDONLY | _O_BINARY);
    if (fd < 0) CloseHandle(h);
    return fd;
}
static int open_root(const char *path)
{
    wchar_t wide[WIDE];
    return MultiByteToWideChar(CP_ACP, 0, path, -1, wide, WIDE) ? open_wide(wide, O_DIRECTORY) : failed_with(ENOENT);
}
static int openat(int dir, const char *name, int flags)
{
    wchar_t path[WIDE], real[WIDE];
    const DWORD n = GetFinalPathNameByHandleW(handle_of(dir), path, WIDE, 0);
    if (n == 0 || n + 258 > WIDE) return failed_with(ENAMETOOLONG);
    if (strcmp(name, ".") == 0) return open_wide(path, flags);
    if (strpbrk(name, "\\:*?\"<>|")) return failed_with(ENOENT);   // no part of a name
    wchar_t *part = path + n;
    if (part[-1] != L'\\') *part++ = L'\\';
    if (!MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, name, -1, part, 256)) return failed_with(ENOENT);
    const int fd = open_wide(path, flags);
    if (fd < 0) return fd;
    const DWORD m = GetFinalPathNameByHandleW(handle_of(fd), real, WIDE, 0);
    const wchar_t *last = m > 0 && m < WIDE ? wcsrchr(real, L'\\') : NULL;
    if (last && _wcsicmp(last + 1, part) == 0) return fd;
    close(fd);
    return failed_with(ENOENT);
}
static int stat_of(int fd, struct stat *st)
{
    BY_HANDLE_FILE_INFORMATION info;
    if (!GetFileInformationByHandle(handle_of(fd), &info)) return failed_with(EIO);
    memset(st, 0, sizeof *st);
    st->st_mode = info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY ? S_IFDIR : S_IFREG;
    st->st_size = (int64_t)((uint64_t)info.nFileSizeHigh << 32 | info.nFileSizeLow);
    // From 100 ns since 1601 to seconds since 1970.
    const uint64_t written = (uint64_t)info.ftLastWriteTime.dwHighDateTime << 32 | info.ftLastWriteTime.dwLowDateTime;
    st->st_mtime = (time_t)((int64_t)(written / 10000000) - 11644473600);
    return 0;
}
#undef fstat
#define fstat stat_of
static ssize_t pread(int fd, void *buf, size_t n, int64_t at)
{
    OVERLAPPED from = {.Offset = (DWORD)at, .OffsetHigh = (DWORD)(at >> 32)};
    DWORD got = 0;
    if (ReadFile(handle_of(fd), buf, (DWORD)n, &got, &from)) return (ssize_t)got;
    return GetLastError() == ERROR_HANDLE_EOF ? 0 : failed_with(EIO);
}
static struct tm *utc_of(const time_t *t, struct tm *utc) { return gmtime_s(utc, t) == 0 ? utc : NULL; }
#undef gmtime_r
#define gmtime_r utc_of
#else
static int open_root(const char *path) { return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC); }
#endif

// Opens what the path names below the root, part by part. A descriptor or -errno.
static int open_below(const char *path)
{
    char part[256];
    int dir = openat(app.root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (dir >= 0 && *path) {
        const size_t n = strcspn(path, "/");
        const bool last = path[n] == '\0';
        int next = -1;
        if (n < sizeof part) {
            memcpy(part, path, n);
            part[n] = '\0';
            // Not blocking: a FIFO must not hold us up; on a file it changes nothing.
            next = openat(dir, part, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (last ? 0 : O_DIRECTORY));
        } else {
            errno = ENAMETOOLONG;
        }
        const int e = errno;
        close(dir);
        errno = e;
        dir = next;
        path += n + !last;
    }
    return dir >= 0 ? dir : -errno;
}
static int status_of(int e)
{
    return e == -EACCES || e == -EPERM ? 403 : e == -EMFILE || e == -ENFILE || e == -ENOMEM ? 503 : 404;
}

static size_t put_escaped(char *out, const char *name, bool url)
{
    size_t n = 0;
    for (; *name; name++) {
        const unsigned char c = (unsigned char)*name;
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || (!url && c == ' ');
        n += (size_t)(plain ? sprintf(out + n, "%c", c) : sprintf(out + n, url ? "%%%02X" : c >= 128 ? "%c" : "&#%d;", c));
    }
    return n;
}
// One more line of the list. False: no room for it.
static bool list_name(loan *l, const char *name, bool directory)
{
    if (l->n + strlen(name) * 9 + 64 > sizeof l->data) return false;   // each byte may become "&#127;" and "%7F"
    const char *slash = directory ? "/" : "";
    l->n += (size_t)sprintf(l->data + l->n, "<li><a href=\"./");
    l->n += put_escaped(l->data + l->n, name, true);
    l->n += (size_t)sprintf(l->data + l->n, "%s\">", slash);
    l->n += put_escaped(l->data + l->n, name, false);
    l->n += (size_t)sprintf(l->data + l->n, "%s</a>\n", slash);
    return true;
}
// The names in the directory l->fd, but for hidden ones and what is neither file nor directory.
static bool list_names(loan *l)
{
#ifdef _WIN32
    wchar_t pattern[WIDE];
    const DWORD n = GetFinalPathNameByHandleW(handle_of(l->fd), pattern, WIDE, 0);
    if (n == 0 || n + 3 > WIDE) return false;
    wcscpy(pattern + n, L"\\*");
    WIN32_FIND_DATAW e;
    HANDLE found = FindFirstFileW(pattern, &e);
    if (found == INVALID_HANDLE_VALUE) return GetLastError() == ERROR_FILE_NOT_FOUND;
    int count = 0;
    do {
        char name[1024];
        if (e.cFileName[0] == L'.' || (e.dwFileAttributes & (FILE_ATTRIBUTE_REPARSE_POINT | FILE_ATTRIBUTE_DEVICE))) continue;
        if (!WideCharToMultiByte(CP_UTF8, 0, e.cFileName, -1, name, sizeof name, NULL, NULL)) continue;
        if (!list_name(l, name, (e.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0)) break;
        count++;
    } while (count < LISTED_MAX && FindNextFileW(found, &e));
    FindClose(found);
#else
    const int copy = fcntl(l->fd, F_DUPFD_CLOEXEC, 3);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    if (!dir) {
        if (copy >= 0) close(copy);
        return false;
    }
    const struct dirent *e;
    for (int count = 0; count < LISTED_MAX && (e = readdir(dir)) != NULL;) {
        struct stat st;
        if (e->d_name[0] == '.' || fstatat(copy, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) continue;
        if (!list_name(l, e->d_name, S_ISDIR(st.st_mode))) break;
        count++;
    }
    closedir(dir);
#endif
    return true;
}
// A list of the directory, into data.
static void list_directory(loan *l)
{
    l->n = (size_t)sprintf(l->data, "<!doctype html><meta charset=utf-8><title>Files</title><ul>\n");
    if (!list_names(l)) {
        l->n = 0;
        l->r.status = 503;
        return;
    }
    l->n += (size_t)sprintf(l->data + l->n, "</ul>\n");
    l->type = "text/html; charset=utf-8";
    l->size = (int64_t)l->n;
    l->modified = -1;
}
// What the conditions of the request say to something that is there, modified then (negative:
// nobody knows): 200, 304 or 412. We gave out no tag, so one that is named is never that of
// the file; and where tags are named, dates do not count.
static int check_conditions(const request *r, int64_t modified)
{
    if (r->match ? r->match_tag : r->has_unmodified && modified >= 0 && modified > r->unmodified) return 412;
    if (r->none_match ? r->none_match_any : r->has_since && modified >= 0 && modified <= r->since) return 304;
    return 200;
}
// Finds out what there is to send: opens it, and decides on the status.
static void find_file(loan *l)
{
    request *r = &l->r;
    struct stat st;
    const size_t n = strlen(r->path);
    const bool as_directory = n == 0 || r->path[n - 1] == '/';
    l->fd = open_below(r->path);
    if (l->fd < 0 || fstat(l->fd, &st) != 0) {
        r->status = status_of(l->fd < 0 ? l->fd : -errno);
        return;
    }
    if (S_ISDIR(st.st_mode)) {
        if (!as_directory) {
            r->status = 301;
            return;
        }
        const int index = openat(l->fd, "index.html", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (index < 0 && errno != ENOENT && errno != ELOOP) {   // it is there: no list instead
            r->status = status_of(-errno);
            return;
        }
        if (index < 0 || fstat(index, &st) != 0 || !S_ISREG(st.st_mode)) {
            if (index >= 0) close(index);
            list_directory(l);
            if (r->status == 200) r->status = check_conditions(r, l->modified);
            return;
        }
        close(l->fd);
        l->fd = index;
        l->type = "text/html; charset=utf-8";
    } else if (!S_ISREG(st.st_mode) || as_directory) {
        r->status = 404;
        return;
    } else {
        l->type = type_of(r->path);
    }
    l->size = st.st_size;
    l->modified = st.st_mtime;
    r->status = check_conditions(r, l->modified);
    if (r->status != 200) return;
    if (r->has_range && !r->head && (!r->has_if_range || r->if_range == l->modified)) {
        const int64_t first = r->first >= 0 ? r->first : r->last < l->size ? l->size - r->last : 0;
        const int64_t last = r->first >= 0 && r->last >= 0 && r->last < l->size ? r->last : l->size - 1;
        r->status = first < l->size && (r->first >= 0 || r->last > 0) ? 206 : 416;
        l->at = r->status == 206 ? first : 0;
        l->left = r->status == 206 ? last - first + 1 : 0;
    } else {
        l->left = l->size;
    }
}
static size_t put_date(char *out, size_t room, const char *name, time_t t)
{
    struct tm utc;
    char date[48];
    return gmtime_r(&t, &utc) && strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &utc) ?
        (size_t)snprintf(out, room, "%s: %s\r\n", name, date) : 0;
}
// The head of the answer; also the body of one that is not a file.
static void put_head(loan *l)
{
    request *r = &l->r;
    char *p = l->head, *const end = p + sizeof l->head;
    if (r->status != 200 && r->status != 206 && r->status != 304) {
        l->n = (size_t)snprintf(l->data, sizeof l->data, "%d %s\n", r->status, reason(r->status));
        l->left = 0;
        l->type = "text/plain; charset=utf-8";
    }
    const int64_t length = l->left > 0 ? l->left : (int64_t)l->n;
    p += snprintf(p, (size_t)(end - p), "HTTP/1.1 %d %s\r\n", r->status, reason(r->status));
    p += put_date(p, (size_t)(end - p), "Date", time(NULL));
    if (r->status != 304)
        p += snprintf(p, (size_t)(end - p), "Content-Type: %s\r\nContent-Length: %lld\r\nX-Content-Type-Options: nosniff\r\n", l->type, (long long)length);
    if ((r->status == 200 || r->status == 206 || r->status == 304) && l->modified >= 0) {
        p += put_date(p, (size_t)(end - p), "Last-Modified", (time_t)l->modified);
        p += snprintf(p, (size_t)(end - p), "Accept-Ranges: bytes\r\n");
    }
    if (r->status == 206)
        p += snprintf(p, (size_t)(end - p), "Content-Range: bytes %lld-%lld/%lld\r\n", (long long)l->at, (long long)(l->at + l->left - 1), (long long)l->size);
    if (r->status == 416) p += snprintf(p, (size_t)(end - p), "Content-Range: bytes */%lld\r\n", (long long)l->size);
    if (r->status == 405) p += snprintf(p, (size_t)(end - p), "Allow: GET, HEAD\r\n");
    if (r->status == 301) {   // relative to the name asked for, so that only its last part is needed
        const char *slash = strrchr(r->path, '/');
        char name[3 * 255 + 1];   // open_below has opened it: it has no more than 255 bytes
        put_escaped(name, slash ? slash + 1 : r->path, true);
        p += snprintf(p, (size_t)(end - p), "Location: ./%s/\r\n", name);
    }
    p += snprintf(p, (size_t)(end - p), "Connection: %s\r\n\r\n", r->close ? "close" : "keep-alive");
    l->head_length = (size_t)(p - l->head);
    if (r->head || r->status == 304) {
        l->left = 0;
        l->n = 0;
    }
}
// The next piece of the file into data.
static intptr_t read_piece(void *arg)
{
    loan *l = arg;
    l->n = 0;
    const size_t want = l->left < (int64_t)sizeof l->data ? (size_t)l->left : sizeof l->data;
    while (l->n < want) {
        const ssize_t n = pread(l->fd, l->data + l->n, want - l->n, l->at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            l->error = n < 0 ? -errno : CRT_EEOF;
            return l->error;
        }
        l->n += (size_t)n;
        l->at += n;
        l->left -= n;
    }
    return 0;
}
// All of a small answer: the file found, the head, the first piece.
static intptr_t begin_answer(void *arg)
{
    loan *l = arg;
    if (l->r.status == 200) find_file(l);
    put_head(l);
    if (l->left > 0 && read_piece(l) < 0) {   // nothing is sent yet, so we can still say it
        l->r.status = 500;
        l->error = 0;
        put_head(l);
    }
    return 0;
}
static loan *loan_new(const request *r)
{
    loan *l = malloc(sizeof *l);   // not cleared: most of it is data
    if (!l) return NULL;
    l->r = *r;
    l->fd = -1;
    l->size = l->at = l->left = 0;
    l->modified = -1;
    l->type = NULL;
    l->error = 0;
    l->n = l->head_length = 0;
    return l;
}
static void loan_free(loan **l)
{
    if (*l && (*l)->fd >= 0) close((*l)->fd);
    free(*l);
    *l = NULL;
}

// ---- A connection -----------------------------------------------------------------

// Reads the head of a request, line by line. 0: it is in r; negative: the peer is gone.
typedef struct head {
    crt_frame co;
    crt_reader *in;
    request r;
    char *line;
    int lines;
    crt_poll n;
} head;

static crt_poll head_run(void *frame, crt_cx *cx)
{
    head *self = frame;
    CRT_BEGIN(self, cx);
    self->r = (request){.status = 0};
    for (self->lines = 0;; self->lines++) {
        CRT_AWAIT(self->n = crt_reader_read_line(cx, self->in, LINE_BYTES, &self->line));
        if (self->n == CRT_EMSGSIZE || self->lines == HEAD_LINES) {
            refuse(&self->r, 431);
            CRT_RETURN(0);
        }
        if (self->n < 0) CRT_RETURN(self->n);
        if (strlen(self->line) != (size_t)self->n) refuse(&self->r, 400);   // a NUL
        else if (self->n == 0 && self->r.status != 0) break;
        else if (self->r.status == 0 && self->n > 0) parse_request_line(self->line, &self->r);
        else if (self->n > 0) parse_header(self->line, &self->r);
    }
    end_head(&self->r);
    CRT_RETURN(0);
    CRT_END;
}

typedef struct conn {
    crt_frame co;
    crt_stream *peer;
    crt_reader in;
    head head;
    loan *loan;
    crt_join_handle *job;
    crt_iovec pieces[2];
    CRT_SELECT(3) sel;
    crt_timer timer;
    crt_instant deadline;
    intptr_t result;
    bool close;
    crt_poll n, which;
} conn;

// They are allowed between requests.
static void skip_empty_lines(crt_reader *in)
{
    const char *p = crt_reader_data(in);
    size_t n = 0;
    while (n < crt_reader_buffered(in) && (p[n] == '\r' || p[n] == '\n')) n++;
    crt_reader_consume(in, n);
}

static crt_poll conn_run(void *frame, crt_cx *cx)
{
    conn *self = frame;
    CRT_BEGIN(self, cx);
    while (!self->close) {
        skip_empty_lines(&self->in);
        if (crt_reader_buffered(&self->in) == 0) {
            // Idle: without a buffer, until there is something to read.
            crt_reader_drop(&self->in);
            crt_reader_init(&self->in, self->peer, NULL, LINE_BYTES + 16);
            CRT_AWAIT(self->which = crt_select_biased(cx, &self->sel,
                crt_on(cx, 0, self->n = crt_readable(cx, self->peer)),
                crt_on(cx, 1, crt_cancelled(cx, app.stop)),
                crt_on(cx, 2, crt_sleep(cx, IDLE_TIMEOUT))));
            if (self->which != 0 || self->n < 0) CRT_RETURN(0);
            CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, HEAD_TIMEOUT, crt_reader_fill(cx, &self->in, 1)));
            if (self->n <= 0) CRT_RETURN(0);   // the peer closed, or is gone
            continue;   // it may be an empty line
        }
        self->head.in = &self->in;
        CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, HEAD_TIMEOUT, head_run(&self->head, cx)));
        if (self->n == CRT_ETIMEDOUT) self->head.r = (request){.status = 408, .close = true};
        else if (self->n < 0) CRT_RETURN(0);   // the peer closed, or is gone
        if (crt_cancel_token_is_cancelled(app.stop)) self->head.r.close = true;

        self->close = self->head.r.close;
        self->loan = loan_new(&self->head.r);
        if (!self->loan) CRT_RETURN(CRT_ENOMEM);
        self->n = crt_spawn_blocking(cx, &self->job, begin_answer, self->loan);
        if (self->n == 0) CRT_AWAIT(self->n = crt_join(cx, &self->job, &self->result));
        if (self->n < 0) CRT_RETURN(0);   // shutting down
        atomic_fetch_add_explicit(&app.requests, 1, memory_order_relaxed);
        if (self->loan->r.status >= 400) atomic_fetch_add_explicit(&app.errors, 1, memory_order_relaxed);
        self->pieces[0] = (crt_iovec){self->loan->head, self->loan->head_length};
        for (;;) {
            self->pieces[1] = (crt_iovec){self->loan->data, self->loan->n};
            if (self->loan->error) CRT_RETURN(0);   // the length is promised already: all we can do is to stop
            CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, WRITE_TIMEOUT,
                crt_writev_all(cx, self->peer, self->pieces, 2)));
            if (self->n < 0) CRT_RETURN(0);
            atomic_fetch_add_explicit(&app.bytes, (unsigned long long)self->n, memory_order_relaxed);
            if (self->loan->left == 0) break;
            self->pieces[0].len = 0;
            self->n = crt_spawn_blocking(cx, &self->job, read_piece, self->loan);
            if (self->n == 0) CRT_AWAIT(self->n = crt_join(cx, &self->job, &self->result));
            if (self->n < 0) CRT_RETURN(0);
        }
        loan_free(&self->loan);
    }
    // To close with bytes of the peer unread would reset the connection and could
    // destroy our last answer on its way.
    CRT_AWAIT(self->n = crt_shutdown(cx, self->peer));
    self->deadline = crt_now(cx) + LINGER_TIMEOUT;
    do {
        crt_reader_consume(&self->in, crt_reader_buffered(&self->in));
        CRT_AWAIT(self->n = crt_timeout_at(cx, &self->timer, self->deadline, crt_reader_fill(cx, &self->in, 1)));
    } while (self->n > 0);
    CRT_RETURN(0);
    CRT_FINALLY
        // The job uses the loan: it must have ended, or have been dropped, before that goes.
        while (self->job) {
            CRT_AWAIT(crt_join(cx, &self->job, NULL));
        }
        loan_free(&self->loan);
        crt_reader_drop(&self->in);
        crt_close(&self->peer);
        atomic_fetch_sub(&app.connections, 1);
        crt_semaphore_release(&app.slots, 1);
    CRT_END;
}

// ---- The server -------------------------------------------------------------------

typedef struct acceptor {
    crt_frame co;
    crt_listener *listener;
    crt_stream *peer;
    bool has_slot;
    crt_poll n;
} acceptor;

static crt_poll acceptor_run(void *frame, crt_cx *cx)
{
    acceptor *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(crt_semaphore_acquire(cx, &app.slots, 1));
        self->has_slot = true;
        CRT_AWAIT(self->n = crt_accept(cx, self->listener, &self->peer, NULL));
        if (self->n == 0) {
            atomic_fetch_add(&app.connections, 1);
            self->n = crt_spawn(cx, conn_run, &(conn){.peer = self->peer});
            if (self->n == 0) {
                self->peer = NULL;
                self->has_slot = false;
                continue;
            }
            atomic_fetch_sub(&app.connections, 1);
        }
        fprintf(stderr, "accept: %s\n", crt_strerror((int)self->n));
        crt_close(&self->peer);
        crt_semaphore_release(&app.slots, 1);
        self->has_slot = false;
        CRT_AWAIT(crt_sleep(cx, CRT_MS(20)));
    }
    CRT_FINALLY
        crt_close(&self->peer);
        crt_close(&self->listener);
        if (self->has_slot) crt_semaphore_release(&app.slots, 1);
        self->has_slot = false;
    CRT_END;
}

typedef struct server {
    crt_frame co;
    char address[32];
    const char *directory;
    acceptor acceptor;
    CRT_SELECT(3) sel;
    crt_timer timer;
    crt_poll n, which;
} server;

static crt_poll server_run(void *frame, crt_cx *cx)
{
    server *self = frame;
    char text[64] = "?";
    crt_addr local;
    CRT_BEGIN(self, cx);
    // The first call for a signal makes it heard, and is the only one that can fail.
    CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, 0, crt_ctrl_c(cx)));
    if (self->n == CRT_ETIMEDOUT) CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, 0, crt_signal_recv(cx, SIGTERM)));
    if (self->n != CRT_ETIMEDOUT) {
        fprintf(stderr, "signals: %s\n", crt_strerror((int)self->n));
        CRT_RETURN(self->n);
    }
    CRT_AWAIT(self->n = crt_tcp_listen(cx, self->address, NULL, &self->acceptor.listener));
    if (self->n < 0) {
        fprintf(stderr, "%s: %s\n", self->address, crt_strerror((int)self->n));
        CRT_RETURN(self->n);
    }
    if (crt_local_addr(self->acceptor.listener, &local) == 0) crt_addr_format(&local, text, sizeof text);
    printf("http://%s/ serves %s, at most %zu connections; Ctrl-C to stop\n", text, self->directory, app.slot_count);
    CRT_AWAIT(self->which = crt_select(cx, &self->sel,
        crt_on(cx, 0, self->n = acceptor_run(&self->acceptor, cx)),
        crt_on(cx, 1, crt_ctrl_c(cx)),
        crt_on(cx, 2, crt_signal_recv(cx, SIGTERM))));
    puts("stopping");
    crt_cancel_token_cancel(app.stop);
    CRT_AWAIT(self->n = crt_timeout(cx, &self->timer, STOP_TIMEOUT,
        crt_semaphore_acquire(cx, &app.slots, app.slot_count)));
    printf("stopped, %llu requests, %llu bytes, %llu errors, %lld connections cut off\n",
           (unsigned long long)atomic_load(&app.requests), (unsigned long long)atomic_load(&app.bytes),
           (unsigned long long)atomic_load(&app.errors), atomic_load(&app.connections));
    CRT_RETURN(0);
    CRT_FINALLY
        crt_close(&self->acceptor.listener);
    CRT_END;
}

// A connection takes a descriptor, and one more, or two, for its file.
static size_t connection_limit(void)
{
#ifdef _WIN32
    return CONNECTIONS_MAX;
#else
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 300;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < 38) return 2;
    const size_t most = (size_t)(limit.rlim_cur - 32) / 3;
    return most < CONNECTIONS_MAX ? most : CONNECTIONS_MAX;
#endif
}

// The number that is all of the text, from 0 to max; -1: it is no such number.
static long number(const char *text, long max)
{
    char *end;
    const long n = strtol(text, &end, 10);
    return *text && !*end && n >= 0 && n <= max ? n : -1;
}
int main(int argc, char **argv)
{
    const char *directory = argc > 1 ? argv[1] : ".";
    const long port = argc > 2 ? number(argv[2], 65535) : 8081;
    if (argc > 3 || port < 0 || directory[0] == '-') {   // one that begins so: ./-it
        fprintf(stderr, "usage: static_files [directory] [port]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    app.root = open_root(directory);
    if (app.root < 0) {
        perror(directory);
        return 1;
    }
    app.slot_count = connection_limit();
    crt_semaphore_init(&app.slots, app.slot_count);
    crt_runtime *rt;
    const crt_config config = {.max_blocking_threads = 32};   // more would not make a disk faster
    int e = crt_runtime_new(&config, &rt);
    app.stop = crt_cancel_token_new();
    if (e < 0 || !app.stop) {
        fprintf(stderr, "runtime: %s\n", crt_strerror(e < 0 ? e : CRT_ENOMEM));
        return 1;
    }
    server frame = {.directory = directory};
    snprintf(frame.address, sizeof frame.address, "127.0.0.1:%ld", port);
    e = (int)crt_block_on(rt, server_run, &frame);
    crt_runtime_drop(&rt);   // cancels what is left, and waits for that
    crt_cancel_token_drop(&app.stop);
    close(app.root);
    return e < 0;
}
