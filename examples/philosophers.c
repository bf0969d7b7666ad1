// philosophers.c: five dining philosophers on crt_mutex.
//
// Each needs the fork to the left and the fork to the right. If all take the left one
// first, all may wait for ever; so each takes the one with the lower number first. A
// crt_mutex may be held over an await: a philosopher eats, which takes time, with two
// locks in hand, and no thread is blocked. crt_scope_run waits for them all.

#define CRT_IMPLEMENTATION
#include "../crt.h"

enum { SEATS = 5, MEALS = 20 };

static crt_mutex fork_at[SEATS];
static int meals[SEATS], eating, most_at_once;   // guarded by `table`
static crt_mutex table;

typedef struct philosopher {
    crt_frame co;
    int seat, first, second;
    bool has_first, has_second;
    int i;
} philosopher;

static crt_poll philosopher_run(void *frame, crt_cx *cx)
{
    philosopher *self = frame;
    CRT_BEGIN(self, cx);
    self->first = self->seat < SEATS - 1 ? self->seat : 0;
    self->second = self->seat < SEATS - 1 ? self->seat + 1 : SEATS - 1;
    for (self->i = 0; self->i < MEALS; self->i++) {
        CRT_AWAIT(crt_mutex_lock(cx, &fork_at[self->first]));
        self->has_first = true;
        CRT_AWAIT(crt_mutex_lock(cx, &fork_at[self->second]));
        self->has_second = true;

        CRT_AWAIT(crt_mutex_lock(cx, &table));
        if (++eating > most_at_once) most_at_once = eating;
        crt_mutex_unlock(&table);
        CRT_AWAIT(crt_sleep(cx, CRT_MS(1)));
        CRT_AWAIT(crt_mutex_lock(cx, &table));
        eating--;
        meals[self->seat]++;
        crt_mutex_unlock(&table);

        crt_mutex_unlock(&fork_at[self->second]);
        crt_mutex_unlock(&fork_at[self->first]);
        self->has_first = self->has_second = false;
    }
    CRT_FINALLY   // cancelled in the middle of a meal: the forks go back
        if (self->has_second) crt_mutex_unlock(&fork_at[self->second]);
        if (self->has_first) crt_mutex_unlock(&fork_at[self->first]);
    CRT_END;
}

typedef struct dinner {
    crt_frame co;
    crt_scope scope;
    crt_timer timer;
    crt_poll r;
} dinner;

static crt_poll seat_all(dinner *self, crt_cx *cx)
{
    for (int i = 0; i < SEATS; i++) {
        int e = crt_scope_spawn(cx, &self->scope, philosopher_run, &(philosopher){.seat = i});
        if (e < 0) return e;
    }
    return 0;
}
static crt_poll dinner_run(void *frame, crt_cx *cx)
{
    dinner *self = frame;
    CRT_BEGIN(self, cx);
    // Were they to wait for ever, the timeout would cancel them all, cleanup included.
    CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_SEC(30),
                                    crt_scope_run(cx, &self->scope, seat_all(self, cx))));
    if (self->r < 0) CRT_RETURN(self->r);
    for (int i = 0; i < SEATS; i++) printf("philosopher %d ate %d times\n", i, meals[i]);
    printf("at most %d ate at once\n", most_at_once);
    CRT_RETURN(most_at_once > SEATS / 2);
    CRT_END;
}

CRT_MAIN(dinner_run, dinner)
