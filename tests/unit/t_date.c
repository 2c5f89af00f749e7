/* t_date.c: dates as real mail has them. */
#include <popferry/mail.h>
#include <popferry/mem.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define B(s) s, sizeof(s) - 1
#define UNKNOWN INT64_MIN

/* 2024-01-05 10:00:00 UTC */
#define T INT64_C(1704448800)

static const struct {
	const char *text;
	size_t n;
	int64_t utc;
	int zone;
} rows[] = {
	/* RFC 5322 */
	{ B("Fri, 5 Jan 2024 10:00:00 +0000"), T, 0 },
	{ B("Fri, 05 Jan 2024 10:00:00 +0000"), T, 0 },
	{ B("Fri, 5 Jan 2024 12:00:00 +0200"), T, 120 },
	{ B("Fri, 5 Jan 2024 04:30:00 -0530"), T, -330 },
	{ B("Fri, 5 Jan 2024 10:00:00 -0000"), T, 0 },
	{ B("Fri, 5 Jan 2024 10:00:00 +0000 (UTC)"), T, 0 },
	{ B("5 Jan 2024 10:00:00 +0000"), T, 0 },
	{ B("5 Jan 2024 10:00 +0000"), T, 0 },
	{ B("  Fri,5   Jan\t2024 10:00:00 +0000  "), T, 0 },
	{ B("Fri, 5 Jan\r\n 2024\r\n\t10:00:00 +0000\r\n"), T, 0 },
	{ B("Mon, 5 Jan 2024 10:00:00 +0000"), T, 0 },
	{ B("fri, 5 jan 2024 10:00:00 gmt"), T, 0 },
	{ B("Sat, 6 Jan 2024 00:59:59 +1459"), T + 59, 899 },
	{ B("Fri, 5 Jan 2024 10:00:00 +2359"), T - 86340, 1439 },
	{ B("Thu, 29 Feb 2024 00:00:00 +0000"), 1709164800, 0 },
	{ B("Tue, 29 Feb 2000 00:00:00 +0000"), 951782400, 0 },
	{ B("Thu, 1 Jan 1970 00:00:00 +0000"), 0, 0 },
	{ B("Wed, 31 Dec 1969 23:59:59 +0000"), -1, 0 },
	/* comments */
	{ B("Fri (x), 5 (y) Jan(z)2024 10:00:00 (a (nested \\) (b)) c) +0000"), T, 0 },
	{ B("(c) Fri, 5 Jan 2024 10(h):(m)00:00 +(z)0000"), T, 0 },
	{ B("Fri, 5 Jan 2024 10:00:00 (unclosed +0200"), T, 0 },
	{ B("Fri, 5 (unclosed Jan 2024 10:00:00 +0000"), UNKNOWN, 0 },
	/* obsolete zones, and later ones */
	{ B("Fri, 5 Jan 2024 10:00:00 UT"), T, 0 },
	{ B("Fri, 5 Jan 2024 10:00:00 GMT"), T, 0 },
	{ B("Fri, 5 Jan 2024 10:00:00 Z"), T, 0 },
	{ B("Fri, 5 Jan 2024 05:00:00 EST"), T, -300 },
	{ B("Fri, 5 Jan 2024 06:00:00 EDT"), T, -240 },
	{ B("Fri, 5 Jan 2024 04:00:00 CST"), T, -360 },
	{ B("Fri, 5 Jan 2024 05:00:00 CDT"), T, -300 },
	{ B("Fri, 5 Jan 2024 03:00:00 MST"), T, -420 },
	{ B("Fri, 5 Jan 2024 04:00:00 MDT"), T, -360 },
	{ B("Fri, 5 Jan 2024 02:00:00 PST"), T, -480 },
	{ B("Fri, 5 Jan 2024 03:00:00 pdt"), T, -420 },
	{ B("Fri, 5 Jan 2024 11:00:00 CET"), T, 60 },
	{ B("Fri, 5 Jan 2024 12:00:00 CEST"), T, 120 },
	{ B("Fri, 5 Jan 2024 12:00:00 MESZ"), T, 120 },
	{ B("Fri, 5 Jan 2024 19:00:00 JST"), T, 540 },
	{ B("Fri, 5 Jan 2024 06:30:00 NST"), T, -210 },
	{ B("Fri, 5 Jan 2024 10:00:00 A"), T, 0 },
	{ B("Fri, 5 Jan 2024 10:00:00 XYZZY"), T, 0 },
	{ B("Fri, 5 Jan 2024 10:00:00 \"GMT\""), T, 0 },
	{ B("Fri, 5 Jan 2024 10:00:00"), T, 0 },
	{ B("Fri, 5 Jan 2024 11:00:00 GMT+0100"), T, 60 },
	{ B("Fri, 5 Jan 2024 11:00:00 UTC+1"), T, 60 },
	{ B("Fri, 5 Jan 2024 11:00:00 GMT +01:00"), T, 60 },
	{ B("Fri, 5 Jan 2024 10:00:00 +9999"), T, 0 },
	{ B("Fri, 5 Jan 2024 10:00:00 +2400"), T, 0 },
	{ B("Fri, 5 Jan 2024 10:00:00 +0060"), T, 0 },
	{ B("Fri, 5 Jan 2024 10:00:00 +010000"), T, 0 },
	{ B("Fri, 5 Jan 2024 10:00:00 +-0500"), T, 0 },
	{ B("Fri, 5 Jan 2024 11:00:00 +01"), T, 60 },
	{ B("Fri, 5 Jan 2024 10:00:00 +0000 junk \0 behind"), T, 0 },
	/* years */
	{ B("5 Jan 24 10:00:00 +0000"), T, 0 },
	{ B("5 Jan 49 10:00:00 +0000"), 2493453600, 0 },
	{ B("5 Jan 50 10:00:00 +0000"), -630770400, 0 },
	{ B("5 Jan 99 10:00:00 +0000"), 915530400, 0 },
	{ B("5 Jan 124 10:00:00 +0000"), T, 0 },
	{ B("5 Jan 0124 10:00:00 +0000"), T, 0 },
	{ B("1 Jan 1900 00:00:00 +0000"), -2208988800, 0 },
	{ B("1 Jan 2098 00:00:00 +0000"), 4039372800, 0 },
	{ B("1 Jan 0024 00:00:00 +0000"), UNKNOWN, 0 },
	{ B("1 Jan 4 00:00:00 +0000"), UNKNOWN, 0 },
	{ B("1 Jan 20240 00:00:00 +0000"), UNKNOWN, 0 },
	{ B("1 Jan 99999999999999999999 00:00:00 +0000"), UNKNOWN, 0 },
	/* other hands */
	{ B("Friday, 5 January 2024 10:00:00 +0000"), T, 0 },
	{ B("Fri 5 Jan 2024 10:00:00 +0000"), T, 0 },
	{ B("Fri., 5. Jan. 2024 10:00:00 +0000"), T, 0 },
	{ B("Fr\xc3\xad, 5 Jan 2024 10:00:00 +0000"), T, 0 },
	{ B("5-Jan-2024 10:00:00 +0000"), T, 0 },
	{ B("05-Jan-24 10:00:00 +0000"), T, 0 },
	{ B("Fri, 5 Jan 2024, 10:00:00 +0000"), T, 0 },
	{ B("Fri, 5 Jan 2024 10:00:00.123456789012 +0000"), T, 0 },
	{ B("Fri, 5 Jan 2024 10:00:00 AM +0000"), T, 0 },
	{ B("Fri, 5 Jan 2024 10:00:00 PM +0000"), T + 43200, 0 },
	{ B("Fri, 5 Jan 2024 12:00:00 AM"), T - 36000, 0 },
	{ B("Thu, 5 Sept 2024 10:00:00 +0000"), 1725530400, 0 },
	/* asctime and kin */
	{ B("Fri Jan  5 10:00:00 2024"), T, 0 },
	{ B("Fri Jan  5 10:00:00 2024\n"), T, 0 },
	{ B("Jan 5 10:00 2024"), T, 0 },
	{ B("Fri Jan 5 05:00:00 EST 2024"), T, -300 },
	{ B("Fri Jan 5 11:00:00 +0100 2024"), T, 60 },
	{ B("Fri Jan 5 11:00:00 2024 +0100"), T, 60 },
	{ B("Friday, January 5, 2024 11:00:00 +0100"), T, 60 },
	{ B("Fri Jan 5 10:00:00"), UNKNOWN, 0 },
	/* ISO 8601 */
	{ B("2024-01-05T10:00:00Z"), T, 0 },
	{ B("2024-01-05t10:00:00z"), T, 0 },
	{ B("2024-01-05T11:00:00+01:00"), T, 60 },
	{ B("2024-01-05T11:00:00.5+01:00"), T, 60 },
	{ B("2024-01-05T11:00:00,25+0100"), T, 60 },
	{ B("2024-01-05 05:00:00 -0500"), T, -300 },
	{ B("2024-01-05 10:00"), T, 0 },
	{ B("2024/01/05 10:00:00"), T, 0 },
	{ B("2024/01/05 Fri 05:00:00 EST"), T, -300 },
	{ B("2024-01/05 10:00:00"), UNKNOWN, 0 },
	{ B("2024-13-05 10:00:00"), UNKNOWN, 0 },
	{ B("2024-01-05"), UNKNOWN, 0 },
	/* no such day or time */
	{ B("Tue, 31 Feb 2024 10:00:00 +0000"), UNKNOWN, 0 },
	{ B("29 Feb 2023 10:00:00 +0000"), UNKNOWN, 0 },
	{ B("29 Feb 1900 10:00:00 +0000"), UNKNOWN, 0 },
	{ B("31 Apr 2024 10:00:00 +0000"), UNKNOWN, 0 },
	{ B("32 Jan 2024 10:00:00 +0000"), UNKNOWN, 0 },
	{ B("0 Jan 2024 10:00:00 +0000"), UNKNOWN, 0 },
	{ B("5 Jan 2024 24:00:00 +0000"), UNKNOWN, 0 },
	{ B("5 Jan 2024 10:60:00 +0000"), UNKNOWN, 0 },
	{ B("5 Jan 2024 10:00:61 +0000"), UNKNOWN, 0 },
	{ B("5 Jan 2024 13:00 PM"), UNKNOWN, 0 },
	{ B("31 Dec 2016 23:59:60 +0000"), 1483228799, 0 },
	{ B("5 Jan 2024"), UNKNOWN, 0 },
	{ B("5 Jan 2024 10"), UNKNOWN, 0 },
	{ B("5 Foo 2024 10:00:00"), UNKNOWN, 0 },
	{ B("5 Ja 2024 10:00:00"), UNKNOWN, 0 },
	{ B("5 Januaryx 2024 10:00:00"), UNKNOWN, 0 },
	{ B("5 1 2024 10:00:00"), UNKNOWN, 0 },
	{ B("10.11.12 10:00:00"), UNKNOWN, 0 },
	{ B("yesterday"), UNKNOWN, 0 },
	{ B("-"), UNKNOWN, 0 },
	{ B(""), UNKNOWN, 0 },
	{ B(" \t\r\n "), UNKNOWN, 0 },
	{ B("\0"), UNKNOWN, 0 },
	{ B("5 Jan\0 2024 10:00:00 +0000"), UNKNOWN, 0 },
	{ B("\0Fri, 5 Jan 2024 10:00:00 +0000"), UNKNOWN, 0 },
	{ B("5 J\0n 2024 10:00:00 +0000"), UNKNOWN, 0 },
};

/* From a heap copy of exactly n bytes: a sanitizer sees any read beyond. */
static struct when parse(const char *p, size_t n)
{
	char *copy = n ? xmalloc(n) : NULL;
	struct when w;

	if (n)
		memcpy(copy, p, n);
	w = date_parse(copy, n);
	free(copy);
	return w;
}

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
		struct when w = parse(rows[i].text, rows[i].n);

		if (w.known != (rows[i].utc != UNKNOWN))
			fail_msg("%s: %sknown", rows[i].text, w.known ? "" : "un");
		if (w.known && (w.utc != rows[i].utc || w.zone != rows[i].zone))
			fail_msg("%s: %lld zone %d", rows[i].text, (long long)w.utc,
				w.zone);
	}
}

/* Every beginning of every row, and every row with one byte changed. */
static void test_cut_and_broken(void **state)
{
	char copy[128];

	(void)state;
	srand(3);
	for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
		for (size_t n = 0; n <= rows[i].n; n++)
			parse(rows[i].text, n);
		for (int round = 0; round < 200 && rows[i].n; round++) {
			struct when w;

			memcpy(copy, rows[i].text, rows[i].n);
			copy[(size_t)rand() % rows[i].n] = (char)rand();
			w = parse(copy, rows[i].n);
			assert_true(w.zone > -1440 && w.zone < 1440);
		}
	}
}

static void test_hostile(void **state)
{
	static const char *const bits[] = { "(", "()", "\\", "((\\", "9", "a", " ",
		"Jan ", "5 ", ":", ";", ";(", "; 5 Jan 2024 10:", ",", "\xff", "-" };
	enum { BIG = 1024 * 1024 };
	char *p = xmalloc(BIG);

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(bits); i++) {
		size_t k = strlen(bits[i]);

		for (size_t o = 0; o < BIG; o++)
			p[o] = bits[i][o % k];
		assert_false(date_parse(p, BIG).known);
		assert_false(date_received(p, BIG).known);
	}
	memset(p, '\0', BIG);
	assert_false(date_parse(p, BIG).known);
	memset(p, '(', BIG);
	memset(p + BIG / 2, ')', BIG / 2);
	memcpy(p + BIG - 27, "5 Jan 2024 10:00:00 +0000  ", 27);
	memset(p, ' ', 27);
	assert_true(date_parse(p, BIG).known);
	free(p);
}

static void test_received(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		int64_t utc;
	} cases[] = {
		{ B("from a by b with SMTP id x; Fri, 5 Jan 2024 10:00:00 +0000"), T },
		{ B("from a; b;\r\n\tFri, 5 Jan 2024 10:00:00 +0000"), T },
		{ B("by b (x; y) ; 5 Jan 2024 10:00:00 +0000 (a; b)"), T },
		{ B("by b (:-( ; 5 Jan 2024 10:00:00 +0000"), T },
		{ B(";5 Jan 2024 10:00 +0000"), T },
		{ B("by b 5 Jan 2024 10:00:00 +0000"), UNKNOWN },
		{ B("by b;"), UNKNOWN },
		{ B(""), UNKNOWN },
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		char *copy = cases[i].n ? xmalloc(cases[i].n) : NULL;
		struct when w;

		if (copy)
			memcpy(copy, cases[i].text, cases[i].n);
		w = date_received(copy, cases[i].n);
		free(copy);
		if (w.known != (cases[i].utc != UNKNOWN) ||
			(w.known && w.utc != cases[i].utc))
			fail_msg("%s", cases[i].text);
	}
}

static void test_sane_and_imap(void **state)
{
	static const struct {
		const char *text, *imap; /* NULL: not sane */
	} cases[] = {
		{ "5 Jan 2024 10:00:00 +0100", " 5-Jan-2024 10:00:00 +0100" },
		{ "25 Dec 1999 23:59:59 -0330", "25-Dec-1999 23:59:59 -0330" },
		{ "1 Jan 1981 00:00:00 +0000", " 1-Jan-1981 00:00:00 +0000" },
		{ "31 Dec 1980 22:00:00 -0200", "31-Dec-1980 22:00:00 -0200" },
		{ "31 Dec 1980 23:59:59 +0000", NULL },
		{ "7 Jan 2024 10:00:00 +0000", " 7-Jan-2024 10:00:00 +0000" },
		{ "7 Jan 2024 10:00:01 +0000", NULL },
		{ "1 Jan 2098 00:00:00 +0000", NULL },
		{ "1 Jan 1900 00:00:00 +0000", NULL },
		{ "nonsense", NULL },
	};
	char out[32];

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		struct when w = date_parse(cases[i].text, strlen(cases[i].text));

		if (date_sane(&w, T) != (cases[i].imap != NULL))
			fail_msg("%s", cases[i].text);
		if (!cases[i].imap)
			continue;
		assert_ptr_equal(date_imap(out, &w), out);
		assert_string_equal(out, cases[i].imap);
		assert_int_equal(strlen(out), 26);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_cut_and_broken),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_received),
		cmocka_unit_test(test_sane_and_imap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
