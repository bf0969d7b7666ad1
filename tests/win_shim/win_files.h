// win_files.h - what tests of files and children ask the system, on Windows and elsewhere
//
// Included by the tests that need it, after harness.h.
#ifndef CRT_TEST_WIN_FILES_H
#define CRT_TEST_WIN_FILES_H

// A pipe that has a path, and is read and written where crt_fs_open opened it. One at a time.
#ifdef _WIN32
static HANDLE test__fifo;   // the end that `test_fifo_feed` writes to
CRT__UNUSED static int test_fifo_new(char *path, size_t room)
{
    static int count;
    snprintf(path, room, "\\\\.\\pipe\\crt-test-%lx-%x", (unsigned long)GetCurrentProcessId(), (unsigned)count++);
    test__fifo = CreateNamedPipeA(path, PIPE_ACCESS_DUPLEX, PIPE_TYPE_BYTE, 1, 4096, 4096, 0, NULL);
    return test__fifo == INVALID_HANDLE_VALUE ? -1 : 0;
}
// Its one end was closed, and another will be opened.
CRT__UNUSED static int test_fifo_again(char *path, size_t room)
{
    CloseHandle(test__fifo);
    return test_fifo_new(path, room);
}
CRT__UNUSED static int test_fifo_feed(int fd, const char *text, size_t n)
{
    DWORD k = 0;
    (void)fd;
    return WriteFile(test__fifo, text, (DWORD)n, &k, NULL) ? (int)k : -1;
}
CRT__UNUSED static void test_fifo_drop(const char *path)
{
    (void)path;
    CloseHandle(test__fifo);
}
// What a file tells of its mode: whether it may be written to.
#define TEST_MODE(mode) ((mode) & 0200 ? 0666u : 0444u)
#define TEST_DIR_MODE(mode) ((void)(mode), 0777u)
#define getuid() 0u
#else
CRT__UNUSED static int test_fifo_new(char *path, size_t room)
{
    (void)room;
    unlink(path);
    return mkfifo(path, 0600);
}
CRT__UNUSED static int test_fifo_again(char *path, size_t room) { return (void)path, (void)room, 0; }
CRT__UNUSED static int test_fifo_feed(int fd, const char *text, size_t n) { return (int)write(fd, text, n); }
CRT__UNUSED static void test_fifo_drop(const char *path) { unlink(path); }
#define TEST_MODE(mode) (mode)
#define TEST_DIR_MODE(mode) (mode)
#endif
#endif
