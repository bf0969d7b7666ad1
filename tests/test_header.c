// The file itself: contents and sections agree, ASCII only, lines of a bounded width.
// Runs from the top of the repository, where crt.h is.
#include "harness.h"

static char text[1 << 20];
static size_t length;

static bool load(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f) return false;
    length = fread(text, 1, sizeof text - 1, f);
    text[length] = 0;
    fclose(f);
    return true;
}
// How many lines begin with "// >>name" and end, or go on with two spaces.
static int sections_named(const char *name)
{
    char banner[80];
    int n = 0;
    size_t k = (size_t)snprintf(banner, sizeof banner, "\n// >>%s", name);
    for (const char *p = text; (p = strstr(p, banner)); p += k)
        n += p[k] == '\n' || (p[k] == ' ' && p[k + 1] == ' ');
    return n;
}

static void every_tag_in_the_contents_is_a_section(void)
{
    CHECK(load("crt.h"));
    const char *begin = strstr(text, "// CONTENTS"), *end = begin ? strstr(begin, "\n//\n") : NULL;
    int tags = 0;
    CHECK(begin && end);
    for (const char *p = begin; p && (p = strstr(p, ">>")) && p < end; p += 2) {
        char name[64];
        size_t n = 0;
        // A tag goes on until two spaces or the end of the line.
        while (p[2 + n] != '\n' && !(p[2 + n] == ' ' && p[3 + n] == ' ') && n < sizeof name - 1) n++;
        memcpy(name, p + 2, n);
        name[n] = 0;
        if (sections_named(name) != 1) fprintf(stderr, "tag >>%s: %d sections\n", name, sections_named(name));
        CHECK_EQ(sections_named(name), 1);
        tags++;
    }
    CHECK(tags > 25);
}
static void every_section_is_in_the_contents(void)
{
    CHECK(load("crt.h"));
    const char *begin = strstr(text, "// CONTENTS"), *end = begin ? strstr(begin, "\n//\n") : NULL;
    CHECK(begin && end);
    for (const char *p = text; (p = strstr(p, "\n// >>")); p++) {
        char name[64] = ">>";
        size_t n = 2;
        while (p[4 + n] != '\n' && !(p[4 + n] == ' ' && p[5 + n] == ' ') && n < sizeof name - 1) {
            name[n] = p[4 + n];
            n++;
        }
        name[n] = 0;
        const char *at = strstr(begin, name);
        if (!at || at > end) fprintf(stderr, "section %s is not in the contents\n", name);
        CHECK(at && at < end);
    }
}
// "see BARE METAL": a part of the manual that begins so.
static void what_is_referred_to_is_there(void)
{
    CHECK(load("crt.h"));
    int n = 0;
    for (const char *p = text; (p = strstr(p, "see ")); p++) {
        char head[40] = "\n// ";
        size_t k = strspn(p + 4, "ABCDEFGHIJKLMNOPQRSTUVWXYZ ");
        while (k && p[3 + k] == ' ') k--;
        if (k < 4 || k > 30 || p[4 + k] == '_') continue;   // a name of the code
        memcpy(head + 4, p + 4, k);
        head[4 + k] = 0;
        if (!strstr(text, head)) fprintf(stderr, "there is no %s\n", head + 4);
        CHECK(strstr(text, head) != NULL);
        n++;
    }
    CHECK(n >= 1);
}
static void headers_are_ascii(void)
{
    static const char *const files[] = {"crt.h", "crt_platform_epoll.h", "crt_platform_kqueue.h"};
    for (int i = 0; i < 3; i++) {
        CHECK(load(files[i]));
        for (size_t k = 0; k < length; k++) CHECK((unsigned char)text[k] < 128);
    }
}
static void no_line_is_longer_than_120_columns(void)
{
    CHECK(load("crt.h"));
    size_t begin = 0;
    int lines = 1;
    for (size_t k = 0; k < length; k++)
        if (text[k] == '\n') {
            if (k - begin > 120) fprintf(stderr, "crt.h:%d has %zu columns\n", lines, k - begin);
            CHECK(k - begin <= 120);
            begin = k + 1;
            lines++;
        }
}

// crt__min and crt__max evaluate what they are handed twice: a clock read so may give less than nothing.
static void nothing_that_changes_is_evaluated_twice(void)
{
    static const char *const files[] = {"crt.h", "crt_platform_epoll.h", "crt_platform_kqueue.h", "crt_platform_iocp.h"};
    static const char *const changing[] = {"crt__atomic_", "crt__clock(", "crt__rt_now(", "crt_now("};
    for (int i = 0; i < 4; i++) {
        CHECK(load(files[i]));
        for (const char *p = text; (p = strstr(p, "crt__m")); p++) {
            if (strncmp(p, "crt__min(", 9) && strncmp(p, "crt__max(", 9)) continue;
            const char *end = p + 9;
            for (int depth = 1; depth && *end; end++) depth += (*end == '(') - (*end == ')');
            for (int k = 0; k < 4; k++) {
                const char *at = strstr(p, changing[k]);
                if (at && at < end) fprintf(stderr, "%s: %.*s\n", files[i], (int)(end - p), p);
                CHECK(!at || at >= end);
            }
        }
    }
}

int main(int argc, char **argv)
{
    test_init(argc, argv);
    TEST(every_tag_in_the_contents_is_a_section);
    TEST(every_section_is_in_the_contents);
    TEST(what_is_referred_to_is_there);
    TEST(headers_are_ascii);
    TEST(no_line_is_longer_than_120_columns);
    TEST(nothing_that_changes_is_evaluated_twice);
    return test_end();
}
