// fuzz_addr.c: texts and raw bytes as addresses, against inet_pton and against themselves:
// what is accepted is printed as a text that gives the same address again.
#include "fuzz_crt.h"
#ifdef _WIN32
typedef ADDRESS_FAMILY sa_family_t;
#endif

// What the C library thinks of "host:port", where host and port are in their usual form.
static bool fa_usual(const char *text, int *family, unsigned char address[16], int *port)
{
    const char *colon = strrchr(text, ':');
    char host[64];
    size_t n = colon ? (size_t)(colon - text) : 0;
    if (!n || n >= sizeof host || strlen(colon + 1) > 5 || !colon[1] || (colon[1] == '0' && colon[2])) return false;
    for (const char *p = colon + 1; *p; p++)
        if (*p < '0' || *p > '9') return false;
    *port = atoi(colon + 1);
    if (*port > 65535) return false;
    memcpy(host, text, n);
    host[n] = 0;
    *family = AF_INET;
    if (inet_pton(AF_INET, host, address) == 1) return true;
    if (host[0] != '[' || host[n - 1] != ']') return false;
    host[n - 1] = 0;
    *family = AF_INET6;
    return inet_pton(AF_INET6, host + 1, address) == 1;
}
static void fa_round_trip(const crt_addr *a)
{
    char text[200], again[200];
    crt_addr b;
    int n = crt_addr_format(a, text, sizeof text);
    FUZZ_CHECK(n > 0 && strlen(text) == (size_t)n);
    for (size_t room = 0; room <= (size_t)n; room++) FUZZ_CHECK(crt_addr_format(a, again, room) == CRT_EINVAL);
    FUZZ_CHECK(crt_addr_format(a, again, (size_t)n + 1) == n && !strcmp(text, again));
    if (crt_addr_is_unix(a)) return;
    FUZZ_CHECK(crt_addr_parse(text, &b) == 0);
    FUZZ_CHECK(crt_addr_equal(a, &b) && crt_addr_port(a) == crt_addr_port(&b));
}
FUZZ(addr)
{
    char text[160];
    crt_addr a, zero;
    unsigned char address[16];
    int family = 0, port = 0;
    uint32_t how = fuzz_choose(4);
    size_t n = fuzz.size - fuzz.at < sizeof text - 1 ? fuzz.size - fuzz.at : sizeof text - 1;
    if (n) memcpy(text, fuzz.data + fuzz.at, n);
    text[n] = 0;
    memset(&a, 0x55, sizeof a);
    memset(&zero, 0, sizeof zero);
    if (how < 2) {
        int e = crt_addr_parse(text, &a);
        FUZZ_CHECK(e == 0 || (e == CRT_EINVAL && !memcmp(&a, &zero, sizeof a)));
        bool usual = fa_usual(text, &family, address, &port);
        FUZZ_CHECK(!usual || e == 0);
        if (e) return;
        FUZZ_CHECK(!crt_addr_is_unix(&a) && crt_addr_port(&a) >= 0 && crt_addr_port(&a) <= 65535);
        fa_round_trip(&a);
        if (!usual) return;
        size_t len;
        const struct sockaddr *sa = crt_addr_sockaddr(&a, &len);
        FUZZ_CHECK(sa->sa_family == family && crt_addr_port(&a) == port && crt_addr_is_ipv6(&a) == (family == AF_INET6));
        if (family == AF_INET) FUZZ_CHECK(!memcmp(&((const struct sockaddr_in *)(const void *)sa)->sin_addr, address, 4));
        else FUZZ_CHECK(!memcmp(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, address, 16));
    } else if (how == 2) {
        int e = crt_addr_unix(text, &a);
        FUZZ_CHECK(e == 0 || e == CRT_EINVAL);
        bool wanted = text[0] && (text[0] != '@' || (CRT__UNIX_ABSTRACT && text[1]));   // abstract: Linux
        FUZZ_CHECK((e == 0) == (wanted && strlen(text) < sizeof(((struct sockaddr_un *)0)->sun_path)));
        if (e == 0) {
            char back[200];
            FUZZ_CHECK(crt_addr_is_unix(&a));
            fa_round_trip(&a);
            FUZZ_CHECK(crt_addr_format(&a, back, sizeof back) > 0 && !strcmp(back, text));
        }
    } else {   // bytes of foreign code
        static const int families[] = {AF_INET, AF_INET6, AF_UNIX, AF_UNSPEC};
        union {
            struct sockaddr sa;
            unsigned char bytes[160];
        } raw;
        memset(&raw, 0, sizeof raw);
        memcpy(raw.bytes, text, n);
        if (n) raw.sa.sa_family = (sa_family_t)families[raw.bytes[0] % 4];
        if (crt_addr_from_sockaddr(&a, &raw, n)) return;
        if (raw.sa.sa_family == AF_INET || raw.sa.sa_family == AF_INET6 || raw.sa.sa_family == AF_UNIX) {
            char back[300];
            FUZZ_CHECK(crt_addr_equal(&a, &a));
            FUZZ_CHECK(crt_addr_format(&a, back, sizeof back) != 0);
            if (raw.sa.sa_family == AF_INET) fa_round_trip(&a);
        }
    }
}
