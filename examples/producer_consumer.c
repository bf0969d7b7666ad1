// producer_consumer.c: a bounded channel makes the fast wait for the slow.
//
// Three producers are always ready; the consumer takes 5 ms for each item. With room
// for four items the producers soon wait in crt_mpsc_send, each in its turn: memory
// stays bounded, and nobody is starved. The channel ends by itself when the last
// sender is dropped.

#define CRT_IMPLEMENTATION
#include "../crt.h"

enum { PRODUCERS = 3, ITEMS = 6, ROOM = 4 };

typedef struct item {
    int producer, number;
} item;

typedef struct producer {
    crt_frame co;
    crt_mpsc_tx *tx;
    int id, i, waited;
    item next;
    crt_poll r;
} producer;

static crt_poll producer_run(void *frame, crt_cx *cx)
{
    producer *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 1; self->i <= ITEMS; self->i++) {
        self->next = (item){self->id, self->i};
        if (crt_mpsc_try_send(self->tx, &self->next) == 0) continue;   // there was room
        self->waited++;
        CRT_AWAIT(self->r = crt_mpsc_send(cx, self->tx, &self->next));
        if (self->r < 0) CRT_RETURN(self->r);   // the consumer is gone
    }
    printf("producer %d is done; it had to wait %s\n", self->id, self->waited ? "for room" : "never");
    CRT_FINALLY
        crt_mpsc_tx_drop(&self->tx);
    CRT_END;
}

typedef struct consumer {
    crt_frame co;
    crt_mpsc_tx *tx;
    crt_mpsc_rx *rx;
    item got;
    int i, most, of_each[PRODUCERS];
    crt_poll r;
} consumer;

static crt_poll consumer_run(void *frame, crt_cx *cx)
{
    consumer *self = frame;
    CRT_BEGIN(self, cx);
    self->r = crt_mpsc_new(sizeof(item), ROOM, &self->tx, &self->rx);
    if (self->r < 0) CRT_RETURN(self->r);
    for (self->i = 0; self->i < PRODUCERS; self->i++) {
        crt_mpsc_tx *tx = crt_mpsc_tx_clone(self->tx);   // a handle for each
        if (crt_spawn(cx, producer_run, &(producer){.tx = tx, .id = self->i}) < 0) crt_mpsc_tx_drop(&tx);
    }
    crt_mpsc_tx_drop(&self->tx);   // or the channel would never end
    for (;;) {
        CRT_AWAIT(self->r = crt_mpsc_recv(cx, self->rx, &self->got));
        if (self->r == CRT_ECLOSED) break;
        if ((int)crt_mpsc_len(self->rx) > self->most) self->most = (int)crt_mpsc_len(self->rx);
        self->of_each[self->got.producer]++;
        CRT_AWAIT(crt_sleep(cx, CRT_MS(5)));
    }
    printf("received %d + %d + %d items, never more than %d in the channel\n", self->of_each[0], self->of_each[1],
           self->of_each[2], self->most);
    CRT_RETURN(self->most > ROOM);
    CRT_FINALLY
        crt_mpsc_tx_drop(&self->tx);
        crt_mpsc_rx_drop(&self->rx);
    CRT_END;
}

CRT_MAIN(consumer_run, consumer)
