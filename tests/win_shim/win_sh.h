// win_sh.h - the scripts that tests give to children, where there is no sh: on Windows
//
// As much of it as they use: commands with `;` between them, and words without quotes.
// The child is the test itself: argv {path, "child", "sh", script}.
#ifndef CRT_TEST_WIN_SH_H
#define CRT_TEST_WIN_SH_H

#include <tlhelp32.h>

static const char *test__exe(void)   // this program
{
    static char path[MAX_PATH];
    if (!*path) GetModuleFileNameA(NULL, path, sizeof path);
    return path;
}
static char sh__line[200];   // what `read` has read

// "$a", "$0", "$NAME" and "${NAME:+word}" in one word; others stay.
static const char *sh__expand(const char *word, const char *zero)
{
    static char text[300];
    char *to = text;
    while (*word && to < text + 200) {
        if (*word != '$') {
            *to++ = *word++;
            continue;
        }
        bool braced = word[1] == '{';
        const char *name = word + (braced ? 2 : 1), *value;
        size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz0");
        char copy[64];
        snprintf(copy, sizeof copy, "%.*s", (int)n, name);
        value = !strcmp(copy, "a") ? sh__line : !strcmp(copy, "0") ? zero : getenv(copy);
        word = name + n;
        if (braced) {   // :+word}
            const char *end = strchr(word, '}');
            if (value) to += sprintf(to, "%.*s", (int)(end - word - 2), word + 2);
            word = end + 1;
        } else {
            to += sprintf(to, "%.100s", value ? value : "");
        }
    }
    *to = 0;
    return text;
}
static void sh__copy(FILE *out, int (*change)(int))
{
    int c;
    while ((c = getchar()) != EOF) {
        putc(change ? change(c) : c, out);
        if (change || c == '\n') fflush(out);   // else what is there, byte by byte, below
        else if (fflush(out)) return;
    }
}
static int sh__before(const void *a, const void *b) { return strcmp(a, b); }
static void sh__sort(void)
{
    static char line[50][100];
    size_t n = 0;
    while (n < 50 && fgets(line[n], 100, stdin)) n++;
    qsort(line, n, 100, sh__before);
    for (size_t i = 0; i < n; i++) fputs(line[i], stdout);
}
static bool sh__is_pipe(DWORD which) { return GetFileType(GetStdHandle(which)) == FILE_TYPE_PIPE; }
// One command; -1: goes on, else the status with which the shell ends.
static int sh__command(char *text, const char *zero)
{
    char *word[12] = {0};
    int n = 0;
    FILE *out = stdout;
    for (char *w = strtok(text, " "); w && n < 11; w = strtok(NULL, " ")) {
        if (!strcmp(w, ">&2")) out = stderr;
        else word[n++] = w;
    }
    bool last = n && !strcmp(word[0], "exec");
    char **a = word + last;
    if (!a[0]) return -1;
    if (!strcmp(a[0], "exit")) return atoi(a[1]);
    if (!strcmp(a[0], "sleep")) {
        bool behind = a[2] && !strcmp(a[2], "&");   // a child of its own, on the same handles
        if (behind) _spawnl(_P_NOWAIT, test__exe(), "sh", "child", "sh", "\"exec sleep 1000\"", NULL);
        else Sleep((DWORD)(atof(a[1]) * 1000));
        if (behind && a[3]) putc('\n', out);   // `& echo`
    } else if (!strcmp(a[0], "wait")) {
        Sleep(INFINITE);
    } else if (!strcmp(a[0], "read")) {
        if (!fgets(sh__line, sizeof sh__line, stdin)) sh__line[0] = 0;
        sh__line[strcspn(sh__line, "\n")] = 0;
    } else if (!strcmp(a[0], "echo")) {
        for (int i = 1; a[i]; i++) fprintf(out, "%s%s", i > 1 ? " " : "", sh__expand(a[i], zero));
        putc('\n', out);
    } else if (!strcmp(a[0], "pwd")) {
        char dir[MAX_PATH];
        fprintf(out, "%s\n", _getcwd(dir, sizeof dir));
    } else if (!strcmp(a[0], "cat") || !strcmp(a[0], "head")) {
        long left = a[0][0] == 'h' ? atol(a[2]) : LONG_MAX;
        if (left == LONG_MAX && (!a[1] || strcmp(a[1], "/dev/zero"))) sh__copy(out, NULL);
        else while (left-- && putc(0, out) != EOF) continue;
    } else if (!strcmp(a[0], "tr")) {
        sh__copy(out, toupper);
    } else if (!strcmp(a[0], "sort")) {
        sh__sort();
    } else if (!strcmp(a[0], "test")) {   // are both pipes?
        if (!sh__is_pipe(STD_INPUT_HANDLE) || !sh__is_pipe(STD_OUTPUT_HANDLE)) return 9;
    } else {
        return 127;
    }
    if (fflush(out)) return 1;
    return last ? 0 : -1;
}
static int test_sh(const char *script, const char *zero)
{
    char *copy = strdup(script), *end = copy;
    int status = -1;
    for (int i = 0; i < 3; i++) _setmode(i, 0x8000 /* _O_BINARY */);
    setvbuf(stdout, NULL, _IOFBF, 65536);
    setvbuf(stderr, NULL, _IOFBF, 65536);
    while (end && status < 0) {
        char *begin = end;
        if ((end = strchr(begin, ';'))) *end++ = 0;
        status = sh__command(begin, zero);
    }
    fflush(stdout);
    fflush(stderr);
    free(copy);
    return status < 0 ? 0 : status;
}

// A process of this program that this one began, and which has not ended?
static bool test_child_lives(void)
{
    PROCESSENTRY32 e = {.dwSize = sizeof e};
    bool lives = false;
    const char *slash = strrchr(test__exe(), '\\');
    HANDLE all = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
    for (BOOL more = Process32First(all, &e); more && !lives; more = Process32Next(all, &e))
        lives = e.th32ParentProcessID == GetCurrentProcessId() && !_stricmp(e.szExeFile, slash + 1);
    CloseHandle(all);
    return lives;
}
// A handle of another process, which keeps what is left of it when it has ended?
static bool test_child_is_held(void)
{
    for (intptr_t h = 4, last = 4; h <= last + 2048; h += 4) {
        DWORD flags, pid = 0;
        if (!GetHandleInformation((HANDLE)h, &flags)) continue;
        last = h;
        if ((pid = GetProcessId((HANDLE)h)) && pid != GetCurrentProcessId()) return true;
    }
    return false;
}
#endif
