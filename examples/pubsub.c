// pubsub.c: a hub over a broadcast channel. Every subscriber sees every message.
//
// Two subscribers keep up. The third is slow, and the channel keeps eight messages: it
// is told how many it lost (CRT_ELAGGED) and goes on with the oldest that is left. The
// publisher never waits for anybody.

#define CRT_IMPLEMENTATION
#include "../crt.h"

enum { MESSAGES = 40, KEPT = 8 };

typedef struct subscriber {
    crt_frame co;
    crt_broadcast_rx *rx;
    const char *name;
    crt_duration pace;   // time that it takes for each message
    int number, seen;
    uint64_t lagged, lost;
    crt_poll r;
} subscriber;

static crt_poll subscriber_run(void *frame, crt_cx *cx)
{
    subscriber *self = frame;
    CRT_BEGIN(self, cx);
    for (;;) {
        CRT_AWAIT(self->r = crt_broadcast_recv(cx, self->rx, &self->number, &self->lagged));
        if (self->r == CRT_ECLOSED) break;   // every publisher is gone, and all was seen
        if (self->r == CRT_ELAGGED) {
            self->lost += self->lagged;
            continue;
        }
        self->seen++;
        if (self->pace) CRT_AWAIT(crt_sleep(cx, self->pace));
    }
    printf("%-5s saw %2d, lost %2d, the last was %d\n", self->name, self->seen, (int)self->lost, self->number);
    CRT_RETURN(self->seen + (int)self->lost == MESSAGES ? 0 : 1);
    CRT_FINALLY
        crt_broadcast_rx_drop(&self->rx);
    CRT_END;
}

typedef struct hub {
    crt_frame co;
    crt_broadcast_tx *tx;
    crt_join_set subscribers;
    int number, wrong;
    intptr_t result;
    crt_poll r;
} hub;

static int subscribe(hub *self, crt_cx *cx, const char *name, crt_duration pace)
{
    crt_broadcast_rx *rx;
    int e = crt_broadcast_subscribe(self->tx, &rx);
    if (e == 0) e = crt_join_set_spawn(cx, &self->subscribers, subscriber_run,
                                       &(subscriber){.rx = rx, .name = name, .pace = pace});
    if (e < 0) crt_broadcast_rx_drop(&rx);
    return e;
}
static crt_poll hub_run(void *frame, crt_cx *cx)
{
    hub *self = frame;
    CRT_BEGIN(self, cx);
    self->r = crt_broadcast_new(sizeof self->number, KEPT, &self->tx);
    if (self->r == 0) self->r = subscribe(self, cx, "ann", 0);
    if (self->r == 0) self->r = subscribe(self, cx, "bob", CRT_MS(1));
    if (self->r == 0) self->r = subscribe(self, cx, "slow", CRT_MS(25));
    if (self->r < 0) CRT_RETURN(self->r);
    for (self->number = 1; self->number <= MESSAGES; self->number++) {
        (void)crt_broadcast_send(self->tx, &self->number);   // how many receive it
        CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
    }
    crt_broadcast_tx_drop(&self->tx);   // tells the subscribers that no more will come
    for (;;) {
        CRT_AWAIT(self->r = crt_join_set_next(cx, &self->subscribers, &self->result));
        if (self->r == CRT_EEMPTY) break;
        self->wrong += self->r != 0 || self->result != 0;
    }
    CRT_RETURN(self->wrong);
    CRT_FINALLY
        crt_broadcast_tx_drop(&self->tx);
        crt_join_set_drop(&self->subscribers);
    CRT_END;
}

CRT_MAIN(hub_run, hub)
