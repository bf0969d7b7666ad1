// missing_driver.c: a runtime that was built without a driver.
//
// Tokio panics when a timer is used without enable_time(), or a socket without
// enable_io(). Here the operation returns CRT_ENODRIVER, which the task can
// handle, and a log line names the flag that is missing.

#define CRT_IMPLEMENTATION
#include "../crt.h"

typedef struct attempt {
    crt_frame co;
    crt_listener *listener;
    crt_poll n;
} attempt;

static crt_poll sleep_run(void *frame, crt_cx *cx)
{
    attempt *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->n = crt_sleep(cx, CRT_MS(10)));
    CRT_RETURN(self->n);
    CRT_END;
}

static crt_poll listen_run(void *frame, crt_cx *cx)
{
    attempt *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(self->n = crt_tcp_listen(cx, "127.0.0.1:0", NULL, &self->listener));
    CRT_RETURN(self->n);
    CRT_FINALLY
        crt_close(&self->listener);
    CRT_END;
}

static void print_log(int level, const char *message, void *user_data)
{
    (void)level;
    (void)user_data;
    printf("    log: %s\n", message);
}

static void try_with(const char *title, unsigned drivers, crt_fn fn)
{
    crt_config config = {.flavor = CRT_CURRENT_THREAD, .drivers = drivers};
    config.log.func = print_log;
    crt_runtime *rt;
    int made = crt_runtime_new(&config, &rt);
    printf("%s\n", title);
    if (made < 0) {
        printf("    no runtime: %s\n", crt_strerror(made));
        return;
    }
    attempt frame = {0};
    int result = (int)crt_block_on(rt, fn, &frame);
    if (result < 0)
        printf("    result: %s (%s)\n", crt_err_name(result), crt_strerror(result));
    else
        printf("    result: %d, it works\n", result);
    crt_runtime_drop(&rt);
}

int main(void)
{
    try_with("IO only, then sleep:", CRT_DRIVER_IO, sleep_run);
    try_with("IO only, then listen:", CRT_DRIVER_IO, listen_run);
    try_with("TIME only, then listen:", CRT_DRIVER_TIME, listen_run);
    try_with("TIME only, then sleep:", CRT_DRIVER_TIME, sleep_run);
    return 0;
}
