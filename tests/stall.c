// stall.c - runs a program on a machine that now and then stands still
//
//   stall SEED PROGRAM [ARGUMENT...]
//
// As on a crowded virtual machine, any thread may be stopped anywhere for up to a tenth of a second, and in every
// fourth stop all of them are. A test that takes "so much time has passed" for "so much has been done" fails here at
// once instead of once a month elsewhere; system calls that sleep return EINTR along the way. The children of the
// program are left alone. Linux: PTRACE_SEIZE, PTRACE_INTERRUPT. The exit status is the program's.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 4096 };
enum state { RUNS, ASKED, HELD };
static struct thread { pid_t tid; enum state state; int64_t until; } threads[MOST];
static int n_threads, n_stalls;
static uint64_t seed;

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}
static uint32_t below(uint32_t n)
{
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % n;
}
static struct thread *find(pid_t tid)
{
    for (int i = 0; i < n_threads; i++)
        if (threads[i].tid == tid) return &threads[i];
    if (n_threads == MOST) {
        fprintf(stderr, "stall: more than %d threads\n", MOST);
        exit(2);
    }
    threads[n_threads] = (struct thread){.tid = tid};
    return &threads[n_threads++];
}
static void forget(pid_t tid)
{
    *find(tid) = threads[n_threads - 1];
    n_threads--;
}
static void stall(struct thread *t, int64_t us)
{
    if (t->state != RUNS || ptrace(PTRACE_INTERRUPT, t->tid, 0, 0) != 0) return;
    t->state = ASKED;
    t->until = now() + us;
    n_stalls++;
}
// Most are short: they move threads against each other; the long ones outlast a test's patience.
static void stall_some(void)
{
    int64_t us = below(4) ? below(3000) : below(100000);
    if (!n_threads) return;
    if (below(4)) stall(&threads[below((uint32_t)n_threads)], us);
    else for (int i = 0; i < n_threads; i++) stall(&threads[i], us);
}
static void go_on(struct thread *t, int sig)
{
    t->state = RUNS;
    ptrace(PTRACE_CONT, t->tid, 0, (void *)(intptr_t)sig);
}
static void stopped(pid_t tid, int status)
{
    struct thread *t = find(tid);
    int sig = WSTOPSIG(status), event = status >> 16;
    if (event == PTRACE_EVENT_STOP && sig != SIGTRAP) {   // stopped by a signal: so it stays
        ptrace(PTRACE_LISTEN, tid, 0, 0);
    } else if (event == PTRACE_EVENT_STOP && t->state == ASKED) {
        t->state = HELD;
    } else {   // a new thread, one that made another, a signal; what was asked for is still to come
        ptrace(PTRACE_CONT, tid, 0, (void *)(intptr_t)(event ? 0 : sig));
    }
}
static int wait_for_it(pid_t program)
{
    for (int64_t next = now();;) {
        int status;
        pid_t tid;
        while ((tid = waitpid(-1, &status, __WALL | WNOHANG)) > 0) {
            if (WIFSTOPPED(status)) {
                stopped(tid, status);
                continue;
            }
            forget(tid);
            if (tid == program) return status;
        }
        for (int i = 0; i < n_threads; i++)
            if (threads[i].state == HELD && now() >= threads[i].until) go_on(&threads[i], 0);
        if (now() >= next) {
            stall_some();
            next = now() + below(3000);
        }
        usleep(200);
    }
}
int main(int argc, char **argv)
{
    int go[2];
    if (argc < 3 || pipe(go)) {
        fprintf(stderr, "use: stall SEED PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    seed = strtoull(argv[1], NULL, 0) * 0x9E3779B97F4A7C15u + 1;
    pid_t program = fork();
    if (program == 0) {
        char c;
        close(go[1]);
        if (read(go[0], &c, 1) < 0) _exit(2);
        close(go[0]);
        execv(argv[2], argv + 2);
        perror(argv[2]);
        _exit(2);
    }
    if (program < 0 || ptrace(PTRACE_SEIZE, program, 0, (void *)(PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL))) {
        perror("stall: PTRACE_SEIZE");
        return 2;
    }
    find(program);
    close(go[0]);
    close(go[1]);
    int status = wait_for_it(program);
    fprintf(stderr, "stall: seed %s: %d stalls\n", argv[1], n_stalls);
    if (WIFSIGNALED(status)) fprintf(stderr, "stall: ended by signal %d\n", WTERMSIG(status));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
