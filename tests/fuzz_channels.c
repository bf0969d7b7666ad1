// fuzz_channels.c: the semaphore, notify, and mpsc against models, each operation chosen by
// the input: polls, cancellations before and after the grant, closing, dropping. The leaves
// are polled by hand, each with a slot of its own. The models say what every call returns,
// who is woken and in which order; nothing is lost, doubled or invented.
#include "fuzz_crt.h"

enum { FC_WAITERS = 5 };
#define FC_POLL(slot_, ...)                                                                \
    (cx->budget = 128, fc_held = cx->slot, cx->slot = &(slot_), fc_got = (crt_poll)(__VA_ARGS__), cx->slot = fc_held, fc_got)
#define FC_CANCEL(slot_, ...) (cx->unwind = 1, FC_POLL(slot_, __VA_ARGS__))
static crt_slot *fc_held;
static crt_poll fc_got;
static crt_slot fc_slot[FC_WAITERS];

// ---- the semaphore: an exact model

typedef struct fc_waiter {
    int state;   // 0 idle, 1 queued, 2 granted and not yet told, 3 told that it is closed
    uint32_t wants, has;
} fc_waiter;
static struct {
    crt_semaphore s;
    fc_waiter w[FC_WAITERS];
    int queue[FC_WAITERS], queued;
    uint64_t free, all, owned;   // all = free + owned + what waiters hold
    bool closed;
} fs;
static void fs_unqueue(int i)
{
    int k = 0;
    while (fs.queue[k] != i) k++;
    for (fs.queued--; k < fs.queued; k++) fs.queue[k] = fs.queue[k + 1];
}
static void fs_give(uint64_t n)   // the model's
{
    while (n && fs.queued) {
        fc_waiter *w = &fs.w[fs.queue[0]];
        uint32_t some = w->wants - w->has < n ? w->wants - w->has : (uint32_t)n;
        w->has += some;
        n -= some;
        if (w->has < w->wants) return;
        w->state = 2;
        fs_unqueue(fs.queue[0]);
    }
    fs.free += n;
}
static void fs_check(void)
{
    uint64_t held = 0;
    for (int i = 0; i < FC_WAITERS; i++) {
        fc_waiter *w = &fs.w[i];
        held += w->has;
        FUZZ_CHECK((fc_slot[i].op != NULL) == (w->state != 0));
        if (w->state) FUZZ_CHECK((fc_slot[i].state == CRT__SLOT_QUEUED) == (w->state == 1));
    }
    FUZZ_CHECK(fs.free + fs.owned + held == fs.all);
    FUZZ_CHECK(crt_semaphore_available(&fs.s) == fs.free);
    FUZZ_CHECK(crt_semaphore_is_closed(&fs.s) == fs.closed);
}
static void fs_poll(crt_cx *cx, int i)
{
    fc_waiter *w = &fs.w[i];
    crt_poll want;
    if (w->state == 0) {
        w->wants = fuzz_choose(7);
        w->has = 0;
        if (fs.closed) {
            want = CRT_ECLOSED;
        } else if (!fs.queued && fs.free >= w->wants) {
            fs.free -= w->wants;
            fs.owned += w->wants;
            want = 0;
        } else if (w->wants == 0) {
            want = 0;
        } else {
            want = CRT_PENDING;
            w->state = 1;
            fs.queue[fs.queued++] = i;
            uint64_t all = fs.free;   // the head takes what there is
            if (fs.queued == 1) {
                fs.free = 0;
                fs_give(all);
            }
        }
    } else {
        want = w->state == 1 ? CRT_PENDING : w->state == 2 ? 0 : CRT_ECLOSED;
        if (w->state == 2) fs.owned += w->has;
        if (w->state > 1) w->state = 0, w->has = 0;
    }
    FUZZ_CHECK(FC_POLL(fc_slot[i], crt_semaphore_acquire(cx, &fs.s, w->wants)) == want);
}
static void fs_cancel(crt_cx *cx, int i)
{
    fc_waiter *w = &fs.w[i];
    uint32_t has = w->has;
    if (!w->state) return;
    if (w->state == 1) fs_unqueue(i);
    w->has = 0;
    w->state = 0;
    fs_give(has);
    if (fuzz_choose(2)) FUZZ_CHECK(FC_CANCEL(fc_slot[i], crt_semaphore_acquire(cx, &fs.s, w->wants)) == CRT_UNWIND);
    else crt__slot_cancel(&fc_slot[i]);
}
static void fc_semaphore(crt_cx *cx)
{
    memset(&fs, 0, sizeof fs);
    fs.all = fs.free = fuzz_choose(8);
    crt_semaphore_init(&fs.s, (size_t)fs.free);
    while (fuzz_more()) {
        int i = (int)fuzz_choose(FC_WAITERS);
        uint32_t n = 0;
        switch (fuzz_choose(8)) {
        case 0: case 1: case 2: fs_poll(cx, i); break;
        case 3: fs_cancel(cx, i); break;
        case 4:
            n = fuzz_choose(6);
            if (n > fs.owned) fs.all += n - fs.owned, fs.owned = n;   // some are added
            fs.owned -= n;
            if (fs.closed) fs.free += n;
            else fs_give(n);
            crt_semaphore_release(&fs.s, n);
            break;
        case 5: {
            n = fuzz_choose(5);
            int want = fs.closed ? CRT_ECLOSED : fs.free >= n ? 0 : CRT_EAGAIN;
            if (want == 0) fs.free -= n, fs.owned += n;
            FUZZ_CHECK(crt_semaphore_try_acquire(&fs.s, n) == want);
            break;
        }
        case 6: {
            n = fuzz_choose(5);
            uint64_t some = n < fs.free ? n : fs.free;
            fs.free -= some;
            fs.all -= some;
            FUZZ_CHECK(crt_semaphore_forget(&fs.s, n) == some);
            break;
        }
        default:
            if (fuzz_choose(8)) break;
            fs.closed = true;
            while (fs.queued) {
                fc_waiter *w = &fs.w[fs.queue[0]];
                fs.free += w->has;   // what it had collected
                w->has = 0;
                w->state = 3;
                fs_unqueue(fs.queue[0]);
            }
            crt_semaphore_close(&fs.s);
        }
        fs_check();
    }
    for (int i = 0; i < FC_WAITERS; i++) fs_cancel(cx, i);
    fs_check();
}

// ---- notify: an exact model

static struct {
    crt_notify n;
    int state[FC_WAITERS];   // 0 idle, 1 queued, 2 one, 3 last, 4 all
    int queue[FC_WAITERS], queued;
    bool permit;
} fno;
static void fn_unqueue(int i)
{
    int k = 0;
    while (fno.queue[k] != i) k++;
    for (fno.queued--; k < fno.queued; k++) fno.queue[k] = fno.queue[k + 1];
}
static void fn_give(int how)
{
    int i = fno.queued ? fno.queue[how == 3 ? fno.queued - 1 : 0] : -1;
    if (i < 0) {
        fno.permit = true;
        return;
    }
    fn_unqueue(i);
    fno.state[i] = how;
}
static void fc_notify(crt_cx *cx)
{
    memset(&fno, 0, sizeof fno);
    while (fuzz_more()) {
        int i = (int)fuzz_choose(FC_WAITERS), was = fno.state[i];
        crt_poll want = 0;
        switch (fuzz_choose(6)) {
        case 0: case 1:
            if (was == 0 && fno.permit) {
                fno.permit = false;
            } else if (was == 0) {
                fno.state[i] = 1;
                fno.queue[fno.queued++] = i;
                want = CRT_PENDING;
            } else if (was == 1) {
                want = CRT_PENDING;
            } else {
                fno.state[i] = 0;
            }
            FUZZ_CHECK(FC_POLL(fc_slot[i], crt_notified(cx, &fno.n)) == want);
            break;
        case 2:
            if (!was) break;
            if (was == 1) fn_unqueue(i);
            fno.state[i] = 0;
            if (was == 2 || was == 3) fn_give(was);   // passed on
            if (fuzz_choose(2)) FUZZ_CHECK(FC_CANCEL(fc_slot[i], crt_notified(cx, &fno.n)) == CRT_UNWIND);
            else crt__slot_cancel(&fc_slot[i]);
            break;
        case 3:
            fn_give(2);
            crt_notify_one(&fno.n);
            break;
        case 4:
            fn_give(3);
            crt_notify_last(&fno.n);
            break;
        default:
            while (fno.queued) {
                int k = fno.queue[0];
                fn_unqueue(k);
                fno.state[k] = 4;
            }
            crt_notify_waiters(&fno.n);
        }
        for (int k = 0; k < FC_WAITERS; k++) {
            FUZZ_CHECK((fc_slot[k].op != NULL) == (fno.state[k] != 0));
            if (fno.state[k]) FUZZ_CHECK((fc_slot[k].state == CRT__SLOT_QUEUED) == (fno.state[k] == 1));
        }
    }
    for (int k = 0; k < FC_WAITERS; k++) crt__slot_cancel(&fc_slot[k]);
}

// ---- mpsc: what is sent is received, in order, once; who can go on has been woken

typedef struct fm_item {
    uint32_t sender, number;
} fm_item;
static struct {
    crt_mpsc_tx *tx[FC_WAITERS];
    crt_mpsc_rx *rx;
    fm_item wanted[FC_WAITERS];        // what the sender waits to send
    uint32_t number[FC_WAITERS];       // of its last that was sent
    uint32_t seen[FC_WAITERS];         // of its last that was received
    uint32_t reserved, dropped;
    uint32_t orphans;                  // nobody will receive them: the receiver has gone
    size_t capacity, inside;
    bool closed;                       // by the receiver
    int order[FC_WAITERS], waiting;    // senders that wait, the longest first
} fm;
static void fm_drop(void *elem, void *user)
{
    (void)elem, (void)user;
    fm.dropped++;
}
static void fm_forget(int i)
{
    for (int k = 0; k < fm.waiting; k++)
        if (fm.order[k] == i) {
            for (fm.waiting--; k < fm.waiting; k++) fm.order[k] = fm.order[k + 1];
            return;
        }
}
static size_t fm_granted(void)   // have room that is theirs, and have not used it
{
    size_t n = 0;
    for (int k = 0; k < fm.waiting; k++) n += fc_slot[fm.order[k]].state != CRT__SLOT_QUEUED;
    return n;
}
static bool fm_blocked(void) { return fm_granted() < (size_t)fm.waiting; }
static void fm_received(const fm_item *item)
{
    FUZZ_CHECK(item->sender < FC_WAITERS && item->number > fm.seen[item->sender] && item->number <= fm.number[item->sender]);
    fm.seen[item->sender] = item->number;
    FUZZ_CHECK(fm.inside > 0);
    fm.inside--;
}
static void fm_check(crt_slot *rx_slot)
{
    bool open = false;
    int granted = 0, blocked = 0;
    for (int i = 0; i < FC_WAITERS; i++) open |= fm.tx[i] != NULL;
    if (fm.rx) FUZZ_CHECK(crt_mpsc_len(fm.rx) == fm.inside);
    FUZZ_CHECK(!fm.capacity || fm.inside + fm.reserved <= fm.capacity);
    for (int k = 0; k < fm.waiting; k++) {   // first come, first served
        bool queued = fc_slot[fm.order[k]].state == CRT__SLOT_QUEUED;
        FUZZ_CHECK(!queued || ++blocked);
        if (!queued) FUZZ_CHECK(!blocked), granted++;
    }
    if (fm.closed || !fm.rx) FUZZ_CHECK(!blocked);
    else if (blocked) FUZZ_CHECK(fm.inside + fm.reserved + (size_t)granted == fm.capacity);   // no room is left to anybody
    if (rx_slot->op && rx_slot->state == CRT__SLOT_QUEUED) FUZZ_CHECK(!fm.inside && open && (!fm.closed || fm.reserved || granted));
}
static void fm_send(crt_cx *cx, int i)
{
    bool waited = fc_slot[i].op != NULL;
    if (!fm.tx[i]) return;
    if (!waited) fm.wanted[i] = (fm_item){(uint32_t)i, fm.number[i] + 1};
    crt_poll r = FC_POLL(fc_slot[i], crt_mpsc_send(cx, fm.tx[i], &fm.wanted[i]));
    if (r == CRT_PENDING) {
        if (!waited) fm.order[fm.waiting++] = i;
        return;
    }
    fm_forget(i);
    FUZZ_CHECK(r == 0 || (r == CRT_ECLOSED && (fm.closed || !fm.rx)));
    if (r == 0 && fm.rx) fm.number[i]++, fm.inside++;
    else if (r == 0) fm.orphans++;
}
static void fm_op(crt_cx *cx, int i, crt_slot *rx_slot)
{
    fm_item item = {(uint32_t)i, fm.number[i] + 1}, some[3];
    crt_poll r;
    switch (fuzz_choose(14)) {
    case 0: case 1: case 2: fm_send(cx, i); break;
    case 3:
        if (!fc_slot[i].op) break;
        fm_forget(i);
        crt__slot_cancel(&fc_slot[i]);
        break;
    case 4:
        if (!fm.tx[i] || fc_slot[i].op) break;
        r = crt_mpsc_try_send(fm.tx[i], &item);
        if (fm.closed || !fm.rx) FUZZ_CHECK(r == CRT_ECLOSED);
        else FUZZ_CHECK(r == (fm.capacity && (fm_blocked() || fm.inside + fm.reserved + fm_granted() >= fm.capacity) ? CRT_EFULL : 0));
        if (r == 0) fm.number[i]++, fm.inside++;
        break;
    case 5: case 6: case 7:
        if (!fm.rx) break;
        r = FC_POLL(*rx_slot, crt_mpsc_recv(cx, fm.rx, &item));
        if (r == 0) fm_received(&item);
        else FUZZ_CHECK(!fm.inside && (r == CRT_PENDING || r == CRT_ECLOSED));
        break;
    case 8:
        if (!fm.rx) break;
        r = FC_POLL(*rx_slot, crt_mpsc_recv_many(cx, fm.rx, some, 3));
        FUZZ_CHECK(r > 0 ? (size_t)r == (fm.inside < 3 ? fm.inside : 3) : !fm.inside);
        for (int k = 0; k < r; k++) fm_received(&some[k]);
        break;
    case 9:
        if (!fm.rx || rx_slot->op) break;
        r = crt_mpsc_try_recv(fm.rx, &item);
        if (r == 0) fm_received(&item);
        else FUZZ_CHECK(!fm.inside && (r == CRT_EEMPTY || r == CRT_ECLOSED));
        break;
    case 10: crt__slot_cancel(rx_slot); break;
    case 11:
        if (!fm.tx[i] || fc_slot[i].op) break;
        if (fuzz_choose(2) && fm.reserved) {
            if (fuzz_choose(2)) {
                fm.reserved--;
                crt_mpsc_unreserve(fm.tx[i]);
            } else {
                fm.reserved--;
                FUZZ_CHECK(crt_mpsc_send_reserved(fm.tx[i], &item) == 0);
                if (fm.rx) fm.number[i]++, fm.inside++;
                else fm.orphans++;
            }
        } else if (crt_mpsc_try_reserve(fm.tx[i]) == 0) {
            fm.reserved++;
        }
        break;
    case 12: {   // a handle goes, or comes back
        int from = -1, handles = 0;
        for (int k = 0; k < FC_WAITERS; k++)
            if (fm.tx[k]) from = k, handles++;
        if (fc_slot[i].op || from < 0) break;
        if (!fm.tx[i]) fm.tx[i] = crt_mpsc_tx_clone(fm.tx[from]);
        else if (handles > 1 || !fm.reserved) crt_mpsc_tx_drop(&fm.tx[i]);
        break;
    }
    default:
        if (!fm.rx || fuzz_choose(4)) break;
        fm.closed = true;
        if (fuzz_choose(2)) {
            crt_mpsc_rx_close(fm.rx);
        } else {
            crt__slot_cancel(rx_slot);
            crt_mpsc_rx_drop(&fm.rx);
            fm.orphans += (uint32_t)fm.inside;
            fm.inside = 0;
        }
    }
}
static void fc_mpsc(crt_cx *cx)
{
    crt_slot rx_slot;
    memset(&rx_slot, 0, sizeof rx_slot);
    memset(&fm, 0, sizeof fm);
    fm.capacity = fuzz_choose(5);
    if (crt_mpsc_new(sizeof(fm_item), fm.capacity, &fm.tx[0], &fm.rx)) return;
    crt_mpsc_on_drop(fm.rx, fm_drop, NULL);
    for (int i = 1; i < FC_WAITERS; i++) fm.tx[i] = crt_mpsc_tx_clone(fm.tx[0]);
    while (fuzz_more()) {
        fm_op(cx, (int)fuzz_choose(FC_WAITERS), &rx_slot);
        fm_check(&rx_slot);
    }
    crt__slot_cancel(&rx_slot);
    for (int i = 0; i < FC_WAITERS; i++) crt__slot_cancel(&fc_slot[i]);
    while (fm.reserved) {
        for (int i = 0; i < FC_WAITERS && fm.reserved; i++)
            if (fm.tx[i]) crt_mpsc_unreserve(fm.tx[i]), fm.reserved--;
    }
    for (int i = 0; i < FC_WAITERS; i++) crt_mpsc_tx_drop(&fm.tx[i]);
    crt_mpsc_rx_drop(&fm.rx);
    FUZZ_CHECK(fm.dropped == fm.inside + fm.orphans);
}

static crt_poll fc_run(void *frame, crt_cx *cx)
{
    (void)frame;
    memset(fc_slot, 0, sizeof fc_slot);
    switch (fuzz_choose(3)) {
    case 0: fc_semaphore(cx); break;
    case 1: fc_notify(cx); break;
    default: fc_mpsc(cx);
    }
    return 0;
}
FUZZ(channels)
{
    int frame = 0;
    FUZZ_CHECK(fuzz_block_on(fc_run, &frame) == 0);
}
