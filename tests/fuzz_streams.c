// fuzz_streams.c: the readers of >>streams against the bytes themselves. A writer sends
// them through a small duplex in pieces, with pauses; lines, delimiters, frames, fills,
// exact reads and skips are asked for in any order, some under a time-out. Whatever a
// call says, it must be what the whole text implies, and what it leaves must be there.
#include "fuzz_crt.h"

enum { FT_TEXT = 300 };
static struct {
    unsigned char text[FT_TEXT];
    size_t total, pos, sent;
    crt_reader in;
    crt_stream *a, *b;
    uint8_t own[64];
} ft;
typedef struct ft_frame {
    crt_frame co, reader, writer;
    CRT_SELECT(2) sel;
    crt_timer timer;
    crt_poll r, w, got;
    crt_framed how;
    void *data;
    char *line;
    unsigned char buf[80];
    size_t n, max, min;
    uint32_t op, pause, some, calls;
    int delimiter;
    bool hurried;
} ft_frame;

static size_t ft_left(void) { return ft.total - ft.pos; }
// What a search for the delimiter in at most `max` bytes must give; *n: bytes it takes.
static crt_poll ft_find(int delimiter, size_t max, size_t *n)
{
    size_t look = ft_left() < max ? ft_left() : max;
    unsigned char *hit = memchr(ft.text + ft.pos, delimiter, look);
    *n = hit ? (size_t)(hit - ft.text - ft.pos) + 1 : ft_left();
    return hit ? (crt_poll)*n : ft_left() >= max ? CRT_EMSGSIZE : (crt_poll)ft_left();
}
static size_t ft_max(size_t max)   // as the reader's buffer has it
{
    return !max || (!ft.in.owned && max > ft.in.capacity) ? ft.in.capacity : max;
}
// The frame that comes next, by the book of LengthDelimitedCodec.
static crt_poll ft_decode(const crt_framed *f, size_t *skip)
{
    size_t max = f->max_frame_length ? f->max_frame_length : (size_t)8 << 20;
    size_t width = f->length_field_length ? f->length_field_length : 4, head = f->length_field_offset + width;
    uint64_t said = 0;
    *skip = f->num_skip > 0 ? (size_t)f->num_skip : f->num_skip ? 0 : head;
    if (!ft_left()) return CRT_ECLOSED;
    if (ft_left() < head) return CRT_EEOF;
    for (size_t i = 0; i < width; i++)
        said = said << 8 | ft.text[ft.pos + f->length_field_offset + (f->little_endian ? width - 1 - i : i)];
    if (said > max) return CRT_EMSGSIZE;
    int64_t n = (int64_t)said + f->length_adjustment;
    if (n < 0 || *skip + (size_t)n < head) return CRT_EPROTO;
    return *skip + (size_t)n > ft_left() ? CRT_EEOF : (crt_poll)n;
}
// Whatever is buffered is what comes next.
static void ft_check(void)
{
    size_t n = crt_reader_buffered(&ft.in);
    FUZZ_CHECK(n <= ft_left() && (!n || !memcmp(crt_reader_data(&ft.in), ft.text + ft.pos, n)));
}
static void ft_judge(ft_frame *self)
{
    size_t n, skip, max = ft_max(self->max);
    crt_poll want;
    if (self->r == CRT_ETIMEDOUT) return;   // it took nothing: the next ft_check sees that
    switch (self->op) {
    case 0:
        want = ft_find('\n', max, &n);
        if (want <= 0) {
            FUZZ_CHECK(self->r == (want ? want : CRT_ECLOSED));
            break;
        }
        if (ft.text[ft.pos + n - 1] == '\n') want -= want > 1 && ft.text[ft.pos + n - 2] == '\r' ? 2 : 1;
        FUZZ_CHECK(self->r == want && !memcmp(self->line, ft.text + ft.pos, (size_t)want) && self->line[want] == 0);
        ft.pos += n;
        break;
    case 1:
        want = ft_find(self->delimiter, max, &n);
        FUZZ_CHECK(self->r == want && (want <= 0 || !memcmp(self->data, ft.text + ft.pos, n)));
        if (want > 0) ft.pos += n;
        break;
    case 2:
        if (!ft.in.owned && self->min > ft.in.capacity) FUZZ_CHECK(self->r == CRT_EMSGSIZE || self->r == CRT_EEOF || !ft_left());
        else if (ft_left() < self->min) FUZZ_CHECK(self->r == (ft_left() ? CRT_EEOF : 0));
        else FUZZ_CHECK((size_t)self->r >= self->min && (size_t)self->r == crt_reader_buffered(&ft.in));
        break;
    case 3:
        FUZZ_CHECK(self->r >= 0 && (size_t)self->r <= self->n && (self->r > 0 || !ft_left() || !self->n));
        FUZZ_CHECK(!memcmp(self->buf, ft.text + ft.pos, (size_t)self->r));
        ft.pos += (size_t)self->r;
        break;
    case 4:
        FUZZ_CHECK(self->r == (self->n <= ft_left() ? (crt_poll)self->n : CRT_EEOF));
        n = self->r < 0 ? ft_left() : self->n;
        FUZZ_CHECK(!memcmp(self->buf, ft.text + ft.pos, n));
        ft.pos += n;
        break;
    case 5: {
        unsigned char *hit = memchr(ft.text + ft.pos, self->delimiter, ft_left());
        FUZZ_CHECK(self->r == (hit ? 0 : CRT_ECLOSED));
        ft.pos = hit ? (size_t)(hit - ft.text) + 1 : ft.total;
        break;
    }
    case 6:
        want = ft_decode(&self->how, &skip);
        if (!ft.in.owned && (self->r == CRT_EMSGSIZE)) {   // it may not fit our buffer
            size_t width = self->how.length_field_length ? self->how.length_field_length : 4;
            FUZZ_CHECK(want == CRT_EMSGSIZE || want >= 0 || want == CRT_EEOF || self->how.length_field_offset + width > ft.in.capacity);
            break;
        }
        FUZZ_CHECK(self->r == want);
        if (want < 0) break;
        FUZZ_CHECK(!memcmp(self->data, ft.text + ft.pos + skip, (size_t)want));
        ft.pos += skip + (size_t)want;
        break;
    default: break;
    }
}
static void ft_choose(ft_frame *self)
{
    self->op = fuzz_choose(8);
    self->hurried = fuzz_choose(3) == 0 && self->op != 4 && self->op != 5 && self->op != 3;
    self->max = fuzz_choose(5) ? fuzz_choose(90) : 0;
    self->min = fuzz_choose(90);
    self->n = fuzz_choose(sizeof self->buf);
    self->delimiter = fuzz_choose(2) ? '\n' : (int)fuzz_byte();
    self->how = (crt_framed){.max_frame_length = fuzz_choose(3) ? 0 : 1 + fuzz_choose(100), .length_field_offset = fuzz_choose(4),
                             .length_field_length = fuzz_choose(9), .length_adjustment = (int64_t)fuzz_choose(21) - 10};
    self->how.num_skip = (int32_t)fuzz_choose(12) - 1;
    self->how.little_endian = fuzz_choose(2);
}
static crt_poll ft_call(ft_frame *self, crt_cx *cx)
{
    switch (self->op) {
    case 0: return crt_reader_read_line(cx, &ft.in, self->max, &self->line);
    case 1: return crt_reader_read_until(cx, &ft.in, self->delimiter, self->max, &self->data);
    case 2: return crt_reader_fill(cx, &ft.in, self->min);
    case 3: return crt_reader_read(cx, &ft.in, self->buf, self->n);
    case 4: return crt_reader_read_exact(cx, &ft.in, self->buf, self->n);
    case 5: return crt_reader_skip_until(cx, &ft.in, self->delimiter);
    case 6: return crt_framed_read(cx, &ft.in, &self->how, &self->data);
    default: return crt_yield_now(cx);
    }
}
static crt_poll ft_reader(ft_frame *self, crt_cx *cx)
{
    CRT_BEGIN(&self->reader, cx);
    for (self->calls = 0; self->calls < 60 && fuzz_more(); self->calls++) {
        ft_choose(self);
        if (self->hurried) CRT_AWAIT(self->r = crt_timeout(cx, &self->timer, CRT_MS(1), ft_call(self, cx)));
        else CRT_AWAIT(self->r = ft_call(self, cx));
        ft_judge(self);
        if (self->op == 7) {
            size_t n = crt_reader_buffered(&ft.in);
            n = n ? fuzz_choose((uint32_t)n + 1) : 0;
            crt_reader_consume(&ft.in, n);
            ft.pos += n;
        }
        ft_check();
        CRT_YIELD();
    }
    crt_close(&ft.b);
    CRT_END;
}
static crt_poll ft_writer(ft_frame *self, crt_cx *cx)
{
    CRT_BEGIN(&self->writer, cx);
    while (ft.sent < ft.total) {
        self->some = 1 + fuzz_choose((uint32_t)(ft.total - ft.sent));
        CRT_AWAIT(self->w = crt_write_all(cx, ft.a, ft.text + ft.sent, self->some));
        if (self->w < 0) CRT_RETURN(0);   // the reader has enough
        ft.sent += self->some;
        self->pause = fuzz_choose(4);
        if (self->pause == 1) CRT_AWAIT(crt_sleep(cx, CRT_MS(2)));
        if (self->pause == 2) CRT_YIELD();
    }
    crt_close(&ft.a);
    CRT_END;
}
static crt_poll ft_run(void *frame, crt_cx *cx)
{
    ft_frame *self = frame;
    CRT_BEGIN(self, cx);
    if (crt_duplex(cx, 1 + fuzz_choose(40), &ft.a, &ft.b)) CRT_RETURN(0);
    if (fuzz_choose(2)) crt_reader_init(&ft.in, ft.b, NULL, 2 + fuzz_choose(20));
    else crt_reader_init(&ft.in, ft.b, ft.own, 2 + fuzz_choose(sizeof ft.own - 1));
    CRT_AWAIT(crt_join_all(cx, &self->sel, crt_on(cx, 0, self->got = ft_reader(self, cx)), crt_on(cx, 1, self->got = ft_writer(self, cx))));
    CRT_FINALLY
        crt_reader_drop(&ft.in);
        crt_close(&ft.a);
        crt_close(&ft.b);
    CRT_END;
}
FUZZ(streams)
{
    static ft_frame frame;
    memset(&frame, 0, sizeof frame);
    memset(&ft, 0, sizeof ft);
    ft.total = fuzz_choose(FT_TEXT);
    uint32_t kind = fuzz_choose(3);   // anything, lines, small numbers
    for (size_t i = 0; i < ft.total; i++) {
        uint32_t c = fuzz_byte();
        ft.text[i] = (unsigned char)(kind == 0 ? c : kind == 1 ? (c % 8 == 0 ? '\n' : c % 8 == 1 ? '\r' : c) : c % 12 ? 0 : c / 12);
    }
    FUZZ_CHECK(fuzz_block_on(ft_run, &frame) == 0);
}
