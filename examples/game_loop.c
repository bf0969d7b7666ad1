// game_loop.c: scripts of a game as tasks, run from the loop that draws the frames.
//
// A game has a loop of its own, sixty times a second, and a thread that must not block. So
// nothing here calls crt_block_on: each frame gives the scripts a piece of its time with
// crt_runtime_turn. Time in the game is not time on the wall: the runtime starts with its
// clock paused, and each frame moves it on by a sixtieth of a second. What sleeps in a
// script stops when the game is paused, and is slow when the game is in slow motion.
//
// A script is a coroutine that reads from top to bottom: walk to the door, wait a second,
// wait until somebody has the key. What takes time without waiting (the path of the guard,
// here) yields now and then, and gets what the budget of the frame leaves.
//
//     ./game_loop                             draws it, 60 frames a second
//     ./game_loop --headless --frames 300     no drawing, no waiting, the same each time

#define CRT_IMPLEMENTATION
#include "../crt.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FRAMES_PER_SECOND = 60, WIDTH = 64, MAZE = 96, ROUNDS = 8 };
#define BUDGET CRT_MS(4)   // of a frame's 16.7 ms; drawing has the rest

// ---- The world --------------------------------------------------------------------

enum { KEY_FOUND, DOOR_OPEN, GUARD_COMES, EVENTS };   // what scripts can wait for

typedef struct game {
    crt_runtime *rt;
    crt_notify frame;             // once in each frame
    crt_notify event[EVENTS];
    bool headless, quiet, paused, slow, over;
    int frames, quarters;             // drawn; of a frame, that have passed in the game
    float hero, door, torch, guard;   // places on a line; how far open; how bright
    int path;                         // steps of the guard's way, 0: not yet known
    const char *says;
    // what the checks at the end look at
    int polls, most_polls, at[8];
    uint32_t trace;               // of all that was seen, in order: the same in each run
} game;
enum { AT_DOOR, AT_TIRED, AT_KEY, AT_OPEN, AT_THROUGH, AT_PATH, AT_CAUGHT, AT_TORCH };   // frames, in `at`

static void see(game *g, const void *bytes, size_t n)
{
    for (const unsigned char *p = bytes; n--; p++) g->trace = (g->trace ^ *p) * 16777619u;
}
static void report(game *g, int what, const char *says)
{
    g->at[what] = g->frames;
    g->says = says;
    see(g, says, strlen(says));
    if (g->headless && !g->quiet) printf("frame %3d: %s\n", g->frames, says);
}
// All who wait for it now go on, still in this frame.
static void happens(game *g, int event) { crt_notify_waiters(&g->event[event]); }

// ---- What scripts are made of -------------------------------------------------------

// Moves *value to `to` in so many seconds, a step in each frame, slow at both ends.
typedef struct tween {
    crt_frame co;
    game *g;
    float *value, from, to;
    crt_duration takes;
    crt_instant begun;
} tween;

static float between(float from, float to, float x) { return from + (to - from) * x * x * (3 - 2 * x); }
static crt_poll tween_run(void *frame, crt_cx *cx)
{
    tween *self = frame;
    CRT_BEGIN(self, cx);
    self->from = *self->value;
    self->begun = crt_now(cx);
    while (crt_now(cx) - self->begun < self->takes) {
        *self->value = between(self->from, self->to, (float)(crt_now(cx) - self->begun) / (float)self->takes);
        CRT_AWAIT(crt_notified(cx, &self->g->frame));
    }
    *self->value = self->to;
    CRT_END;
}
// Waiting for seconds of the game is crt_sleep; waiting for an event is this.
static crt_poll wait_for(crt_cx *cx, game *g, int event) { return crt_notified(cx, &g->event[event]); }

// ---- The scripts ---------------------------------------------------------------------

typedef struct hero {
    crt_frame co;
    game *g;
    tween walk, open;
    CRT_SELECT(2) sel;
    CRT_SELECT(2) both;
    crt_poll w;
} hero;

static crt_poll hero_run(void *frame, crt_cx *cx)
{
    hero *self = frame;
    CRT_BEGIN(self, cx);
    self->walk = (tween){.g = self->g, .value = &self->g->hero, .to = 30, .takes = CRT_MS(1000)};
    CRT_AWAIT(tween_run(&self->walk, cx));
    report(self->g, AT_DOOR, "hero: a door, and it is locked");

    do {   // waits for the key, and grows tired of it
        CRT_AWAIT(self->w = crt_select_biased(cx, &self->sel,
            crt_on(cx, 0, wait_for(cx, self->g, KEY_FOUND)),
            crt_on(cx, 1, crt_sleep(cx, CRT_MS(800)))));
        if (self->w == 1) report(self->g, AT_TIRED, "hero: where is she with that key?");
    } while (self->w == 1);

    // Both at once: the door swings open, and he steps back from it.
    self->walk = (tween){.g = self->g, .value = &self->g->hero, .to = 28, .takes = CRT_MS(300)};
    self->open = (tween){.g = self->g, .value = &self->g->door, .to = 1, .takes = CRT_MS(500)};
    CRT_AWAIT(crt_join_all(cx, &self->both,
        crt_on(cx, 0, tween_run(&self->walk, cx)),
        crt_on(cx, 1, tween_run(&self->open, cx))));
    report(self->g, AT_OPEN, "hero: it opens");
    happens(self->g, DOOR_OPEN);

    self->walk = (tween){.g = self->g, .value = &self->g->hero, .to = 58, .takes = CRT_MS(1200)};
    CRT_AWAIT(tween_run(&self->walk, cx));
    report(self->g, AT_THROUGH, "hero: through, and away");
    self->g->over = true;
    CRT_END;
}

typedef struct friend_script {
    crt_frame co;
    game *g;
} friend_script;

static crt_poll friend_run(void *frame, crt_cx *cx)
{
    friend_script *self = frame;
    CRT_BEGIN(self, cx);
    CRT_AWAIT(crt_sleep(cx, CRT_MS(2000)));
    report(self->g, AT_KEY, "friend: I have found it!");
    happens(self->g, KEY_FOUND);
    CRT_END;
}

// Burns until it is put out: an endless script, which ends by being cancelled. CRT_FINALLY
// leaves the world as it should be however that happens.
typedef struct torch {
    crt_frame co;
    game *g;
    tween flicker;
    int i;
} torch;

static crt_poll torch_run(void *frame, crt_cx *cx)
{
    torch *self = frame;
    CRT_BEGIN(self, cx);
    for (self->i = 0;; self->i++) {
        self->flicker = (tween){.g = self->g, .value = &self->g->torch,
                                .to = self->i % 2 ? 0.6f : 1.0f, .takes = CRT_MS(150)};
        CRT_AWAIT(tween_run(&self->flicker, cx));
    }
    CRT_FINALLY
        self->g->torch = 0;
        report(self->g, AT_TORCH, "torch: goes out");
    CRT_END;
}

// Looks for the shortest way through a maze. That is too much for one frame: it yields
// after each hundred fields, and goes on as long as the frame's budget lasts, then in the
// next frame. Nobody has to cut the work to size.
typedef struct guard {
    crt_frame co;
    game *g;
    tween walk;
    crt_join_handle *torch;
    unsigned short steps[MAZE * MAZE];   // from the start, 0: not seen yet
    unsigned short queue[MAZE * MAZE];
    int head, tail;
} guard;

static bool is_wall(int x, int y)   // walls with a gap, now at the one end, now at the other
{
    return x < 0 || y < 0 || x >= MAZE || y >= MAZE || (y % 2 == 1 && x != (y % 4 == 1 ? MAZE - 1 : 0));
}
static void look_around(guard *s)
{
    static const int dx[] = {1, -1, 0, 0}, dy[] = {0, 0, 1, -1};
    int at = s->queue[s->head++], x = at % MAZE, y = at / MAZE;
    for (int i = 0; i < 4; i++) {
        int there = at + dx[i] + MAZE * dy[i];
        if (is_wall(x + dx[i], y + dy[i]) || s->steps[there]) continue;
        s->steps[there] = (unsigned short)(s->steps[at] + 1);
        s->queue[s->tail++] = (unsigned short)there;
    }
}
static crt_poll guard_run(void *frame, crt_cx *cx)
{
    guard *self = frame;
    CRT_BEGIN(self, cx);
    self->steps[0] = 1;
    self->tail = 1;
    while (self->head < self->tail) {
        look_around(self);
        if (self->head % 100 == 0) CRT_YIELD();
    }
    self->g->path = self->steps[(MAZE - 2) * MAZE] - 1;
    report(self->g, AT_PATH, "guard: I know a way");
    CRT_AWAIT(wait_for(cx, self->g, DOOR_OPEN));
    self->walk = (tween){.g = self->g, .value = &self->g->guard, .to = 20, .takes = CRT_MS(600)};
    CRT_AWAIT(tween_run(&self->walk, cx));
    report(self->g, AT_CAUGHT, "guard: lights out!");
    crt_abort(self->torch);
    CRT_FINALLY
        crt_detach(&self->torch);
    CRT_END;
}

// The first script starts the others. It hands the torch to the guard.
typedef struct level {
    crt_frame co;
    game *g;
    crt_join_handle *torch;
} level;

static crt_poll level_run(void *frame, crt_cx *cx)
{
    level *self = frame;
    CRT_BEGIN(self, cx);
    if (crt_spawn_join(cx, &self->torch, torch_run, &(torch){.g = self->g}) < 0 ||
        crt_spawn(cx, guard_run, &(guard){.g = self->g, .torch = self->torch}) < 0)
        CRT_PANIC(cx, "out of memory");
    self->torch = NULL;   // the guard's
    if (crt_spawn(cx, hero_run, &(hero){.g = self->g}) < 0 ||
        crt_spawn(cx, friend_run, &(friend_script){.g = self->g}) < 0)
        CRT_PANIC(cx, "out of memory");
    CRT_FINALLY
        crt_detach(&self->torch);
    CRT_END;
}

// ---- The loop ------------------------------------------------------------------------

// The scripts' share of a frame. On the screen it is measured in time. Without one it must
// be the same in each run: so many rounds, in each of which whatever is ready runs once.
static void run_scripts(game *g)
{
    int polls = 0;
    if (!g->headless) polls = crt_runtime_turn(g->rt, BUDGET);
    for (int i = 0; g->headless && i < ROUNDS && crt_runtime_next_deadline(g->rt) == 0; i++)
        polls += crt_runtime_turn(g->rt, 0);
    g->polls += polls;
    if (polls > g->most_polls) g->most_polls = polls;
}
// When so many quarters of a frame have passed: a multiple, so that no rounding adds up.
static crt_duration after(int quarters) { return quarters * CRT_SEC(1) / (4 * FRAMES_PER_SECOND); }
static void play_frame(game *g)
{
    if (!g->paused) {
        int before = g->quarters;
        g->quarters += g->slow ? 1 : 4;
        crt_time_advance(g->rt, after(g->quarters) - after(before));   // sleeps that are over end
        crt_notify_waiters(&g->frame);                                 // tweens take a step
    }
    run_scripts(g);
    float seen[] = {g->hero, g->door, g->torch, g->guard};
    see(g, seen, sizeof seen);
    g->frames++;
}
static void draw(const game *g)
{
    char line[WIDTH + 1];
    memset(line, g->torch > 0.8f ? '.' : g->torch > 0 ? ' ' : '#', WIDTH);
    line[WIDTH] = 0;
    line[31] = g->door < 0.5f ? '|' : '/';
    line[(int)g->guard] = 'G';
    line[(int)g->hero] = '@';
    printf("\r%s  %-36s", line, g->says ? g->says : "");
    fflush(stdout);
}
// Until the next sixtieth of a second on the wall.
static void wait_for_the_screen(int64_t *next)
{
    struct timespec now, left;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t t = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    if (!*next || t - *next > CRT_SEC(1)) *next = t;   // the first, or long ago: no catching up
    *next += CRT_SEC(1) / FRAMES_PER_SECOND;
    if (t >= *next) return;
    left.tv_sec = 0;
    left.tv_nsec = (long)(*next - t);
    nanosleep(&left, NULL);
}

// One game, from the first frame to the last. 0, or an error.
static int play(game *g, int frames)
{
    crt_config config = {
        .flavor = CRT_CURRENT_THREAD,     // the scripts run in here, on this thread
        .drivers = CRT_DRIVER_TIME,       // no sockets: no descriptor either
        .start_paused = true,             // the clock is moved by play_frame
        .seed = 1,
    };
    int64_t next = 0;
    int e = crt_runtime_new(&config, &g->rt);
    if (e) return e;
    crt_handle *h = crt_runtime_handle(g->rt);
    e = crt_handle_spawn(h, level_run, &(level){.g = g});
    while (!e && g->frames < frames && (g->headless || !g->over)) {
        // A pause of half a second, and half a second in slow motion: scripts know of neither.
        g->paused = g->frames >= 90 && g->frames < 120;
        g->slow = g->frames >= 240 && g->frames < 270;
        play_frame(g);
        if (g->headless) continue;
        draw(g);
        wait_for_the_screen(&next);
    }
    crt_handle_drop(&h);
    int left = crt_runtime_shutdown(g->rt, CRT_FOREVER);   // cancels what still runs: the torch, perhaps
    crt_runtime_drop(&g->rt);
    return e ? e : left;
}

// ---- Headless: it checks itself ----------------------------------------------------------

static int failed;
static void expect(const char *what, bool right)
{
    if (!right) printf("WRONG: %s\n", what), failed++;
}
// A timer has ticks of a millisecond and is never early: it may end a frame later.
static bool at(const game *g, int what, int frame) { return g->at[what] == frame || g->at[what] == frame + 1; }
static void check(const game *g, const game *again)
{
    // Frame 0 starts the scripts; 90 to 119 are a pause; of 240 to 269 four count as one.
    expect("a tween of 1 s takes 60 frames", g->at[AT_DOOR] == 60);
    expect("800 ms are 48 frames, and a pause of 30", at(g, AT_TIRED, 60 + 48 + 30));
    expect("2 s are 120 frames, and the pause", at(g, AT_KEY, 120 + 30));
    expect("who waits goes on in the frame of the event: 500 ms later it is open", g->at[AT_OPEN] == g->at[AT_KEY] + 30);
    expect("1.2 s are 72 frames, of which 30 were at a quarter of the speed",
           g->at[AT_THROUGH] >= g->at[AT_OPEN] + 72 + 22 && g->at[AT_THROUGH] <= g->at[AT_OPEN] + 72 + 23);
    expect("the path took several frames", g->at[AT_PATH] >= 4 && g->at[AT_PATH] < 60);
    expect("the path is the shortest", g->path == MAZE / 2 * (MAZE - 1) + MAZE - 2);
    expect("the torch went out in the frame in which it was cancelled", g->at[AT_TORCH] == g->at[AT_CAUGHT] && g->torch <= 0);
    expect("everybody is where the last tween ends", g->hero >= 58 && g->door >= 1 && g->guard >= 20);
    expect("no frame ran more than its rounds allow", g->most_polls <= 5 * ROUNDS);
    expect("a second game is the same, to the last bit", g->trace == again->trace && g->polls == again->polls);
    printf("%d frames, %d polls of scripts, at most %d in one frame: %s\n", g->frames, g->polls, g->most_polls,
           failed ? "WRONG" : "as it should be");
}

// The number that is all of the text; -1: it is no such number.
static int number(const char *text)
{
    char *end;
    const long n = strtol(text, &end, 10);
    return *text && !*end && n >= 0 && n <= 1000000 ? (int)n : -1;
}

int main(int argc, char **argv)
{
    static game first, second;
    int frames = 400;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--headless")) first.headless = true;
        else if (!strcmp(argv[i], "--frames") && i + 1 < argc) frames = number(argv[++i]);
        else frames = -1;
        if (frames < 0) return fprintf(stderr, "usage: %s [--headless] [--frames N]\n", argv[0]), 2;
    }
    int e = play(&first, frames);
    if (!first.headless) printf("\n");
    if (e) fprintf(stderr, "game_loop: %s\n", e < 0 ? crt_strerror(e) : "a script did not end");
    if (e || !first.headless) return e != 0;
    second.headless = second.quiet = true;
    if (play(&second, frames)) return 1;
    if (frames >= 300) check(&first, &second);   // so long is the story
    return failed != 0;
}
