/* t_text.c: text: cleaned, clipped, quoted, matched, in hex and base64. */
#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define B(s) s, sizeof(s) - 1

static const struct {
	const char *name, *in;
	size_t n;
	const char *clean, *json;
} texts[] = {
	{ "empty", B(""), "", "\"\"" },
	{ "plain", B("abc ~"), "abc ~", "\"abc ~\"" },
	{ "newline", B("a\r\nb\t"), "a\\x0d\\x0ab\\x09",
		"\"a\\u000d\\u000ab\\u0009\"" },
	{ "NUL", B("a\0b"), "a\\x00b", "\"a\\u0000b\"" },
	{ "escape", B("\x1b[31m"), "\\x1b[31m", "\"\\u001b[31m\"" },
	{ "DEL", B("\x7f"), "\\x7f", "\"\\u007f\"" },
	{ "C1", B("\xc2\x9b"), "\\x9b", "\"\\u009b\"" },
	{ "no-break space", B("\xc2\xa0"), "\xc2\xa0", "\"\xc2\xa0\"" },
	{ "umlaut", B("\xc3\xa4"), "\xc3\xa4", "\"\xc3\xa4\"" },
	{ "euro", B("\xe2\x82\xac"), "\xe2\x82\xac", "\"\xe2\x82\xac\"" },
	{ "four bytes", B("\xf0\x9f\x93\xa7"), "\xf0\x9f\x93\xa7",
		"\"\xf0\x9f\x93\xa7\"" },
	{ "last one", B("\xf4\x8f\xbf\xbf"), "\xf4\x8f\xbf\xbf",
		"\"\xf4\x8f\xbf\xbf\"" },
	{ "beyond it", B("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80",
		"\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
	{ "stray tail", B("\x80z"), "\\x80z", "\"\\ufffdz\"" },
	{ "cut short", B("\xe2\x82"), "\\xe2\\x82", "\"\\ufffd\\ufffd\"" },
	{ "cut by text", B("\xe2\x82z"), "\\xe2\\x82z", "\"\\ufffd\\ufffdz\"" },
	{ "long form", B("\xc0\xaf"), "\\xc0\\xaf", "\"\\ufffd\\ufffd\"" },
	{ "long form 3", B("\xe0\x80\xaf"), "\\xe0\\x80\\xaf",
		"\"\\ufffd\\ufffd\\ufffd\"" },
	{ "surrogate", B("\xed\xa0\x80"), "\\xed\\xa0\\x80",
		"\"\\ufffd\\ufffd\\ufffd\"" },
	{ "ff", B("\xff"), "\\xff", "\"\\ufffd\"" },
	{ "RLO",
		B("a\xe2\x80\xae"
		  "b"),
		"a\\u{202e}b", "\"a\\u202eb\"" },
	{ "LRM", B("\xe2\x80\x8e"), "\\u{200e}", "\"\\u200e\"" },
	{ "ALM", B("\xd8\x9c"), "\\u{061c}", "\"\\u061c\"" },
	{ "isolate", B("\xe2\x81\xa6\xe2\x81\xa9"), "\\u{2066}\\u{2069}",
		"\"\\u2066\\u2069\"" },
	{ "line separator", B("\xe2\x80\xa8"), "\\u{2028}", "\"\\u2028\"" },
	{ "BOM", B("\xef\xbb\xbf"), "\\u{feff}", "\"\\ufeff\"" },
	{ "quotes", B("\"\\/"), "\"\\/", "\"\\\"\\\\/\"" },
};

static void test_clean(void **state)
{
	size_t i, cap;

	(void)state;
	for (i = 0; i < N_ELEMENTS(texts); i++) {
		size_t want = strlen(texts[i].clean);
		struct buf b = BUF_INIT(1000);
		char out[128], in[32];

		/* What follows the text would complete a character. */
		memset(in, 0xac, sizeof(in));
		memcpy(in, texts[i].in, texts[i].n);
		text_clean(out, sizeof(out), in, texts[i].n);
		if (strcmp(out, texts[i].clean) != 0)
			fail_msg("%s: %s", texts[i].name, out);
		text_clean_add(&b, texts[i].in, texts[i].n);
		assert_string_equal(buf_str(&b), texts[i].clean);
		buf_free(&b);
		/* In every room: whole, or a part and dots, never over the end. */
		for (cap = 0; cap < want + 5; cap++) {
			memset(out, 'Z', sizeof(out));
			text_clean(out, cap, texts[i].in, texts[i].n);
			assert_int_equal(out[cap], 'Z');
			if (cap == 0)
				continue;
			assert_true(strlen(out) < cap);
			if (cap > want)
				assert_string_equal(out, texts[i].clean);
			else if (cap >= 4)
				assert_string_equal(out + strlen(out) - 3, "...");
		}
	}
}

static void test_clip(void **state)
{
	static const struct {
		const char *in;
		size_t cap;
		const char *out;
	} rows[] = {
		{ "abcdefgh", 9, "abcdefgh" },
		{ "abcdefgh", 8, "abcd..." },
		{ "abcdefgh", 4, "..." },
		{ "abcdefgh", 3, "ab" },
		{ "abcdefgh", 1, "" },
		{ "abcd\n", 8, "abcd..." },
		{ "abcd\n", 9, "abcd\\x0a" },
		{ "ab\xe2\x82\xac\xe2\x82\xac", 9, "ab\xe2\x82\xac\xe2\x82\xac" },
		{ "ab\xe2\x82\xac\xe2\x82\xac", 8, "ab..." },
		{ "\n\n", 8, "\\x0a..." },
		{ "\n\n", 7, "..." },
	};
	char out[16];
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++)
		assert_string_equal(
			text_clean(out, rows[i].cap, rows[i].in, strlen(rows[i].in)),
			rows[i].out);
}

static void test_json(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(texts); i++) {
		struct buf b = BUF_INIT(1000);

		text_json(&b, texts[i].in, texts[i].n);
		if (strcmp(buf_str(&b), texts[i].json) != 0)
			fail_msg("%s: %s", texts[i].name, buf_str(&b));
		buf_free(&b);
	}
}

static void test_glob(void **state)
{
	static const struct {
		const char *pattern, *s;
		bool yes;
	} rows[] = {
		{ "", "", true },
		{ "", "a", false },
		{ "*", "", true },
		{ "*", "abc", true },
		{ "?", "", false },
		{ "?", "a", true },
		{ "?", "ab", false },
		{ "abc", "ABC", true },
		{ "abc", "ab", false },
		{ "abc", "abcd", false },
		{ "a*c", "abbbc", true },
		{ "a*c", "ac", true },
		{ "a*c", "acb", false },
		{ "*b*", "abc", true },
		{ "*.example.org", "mail.example.org", true },
		{ "*.example.org", "example.org", false },
		{ "a**b", "ab", true },
		{ "*a*a*b", "aaaaab", true },
		{ "*ab", "aab", true },
		{ "a?*", "a", false },
		{ "[a]", "a", false },
		{ "[a]", "[A]", true },
		{ "\\*", "\\x", true },
		{ "*", "*", true },
	};
	char hostile[4001];
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++)
		if (text_glob(rows[i].pattern, rows[i].s, strlen(rows[i].s)) !=
			rows[i].yes)
			fail_msg("%s on %s", rows[i].pattern, rows[i].s);
	assert_true(text_glob("a?b", B("a\0b")));
	assert_false(text_glob("a", B("a\0")));
	memset(hostile, 'a', sizeof(hostile));
	assert_false(text_glob("*a*a*a*a*a*a*a*a*a*a*b", hostile, sizeof(hostile)));
}

static void test_number(void **state)
{
	static const uint64_t rows[] = { 0, 1, 9, 10, 99, 100, 4294967295,
		1000000000000, UINT64_MAX };
	char want[32], got[32];
	struct buf b = BUF_INIT(24);
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		snprintf(want, sizeof(want), "%" PRIu64, rows[i]);
		*text_number(got, rows[i]) = '\0';
		assert_string_equal(got, want);
		buf_clear(&b);
		assert_true(buf_addu(&b, rows[i], 1));
		assert_string_equal(buf_str(&b), want);
		snprintf(want, sizeof(want), "%09" PRIu64, rows[i]);
		buf_clear(&b);
		assert_true(buf_addu(&b, rows[i], 9));
		assert_string_equal(buf_str(&b), want);
	}
	buf_clear(&b);
	assert_true(buf_addu(&b, 7, 20));
	assert_false(buf_addu(&b, 7, 9));
	assert_string_equal(buf_str(&b), "00000000000000000007");
	buf_free(&b);
}

static void test_hex(void **state)
{
	static const char *const bad[] = { "", "0", "00", "00ff0", "00ff0g", "00ff00ff",
		" 0ff00", "-1ff00", "0x0011" };
	unsigned char p[3] = { 1, 2, 3 };
	char out[7];
	size_t i;

	(void)state;
	assert_string_equal(
		text_hex(out, (const unsigned char *)"\x00\xff\x1a", 3), "00ff1a");
	assert_string_equal(text_hex(out, p, 0), "");
	assert_true(text_unhex(p, 3, "00fF1A"));
	assert_memory_equal(p, "\x00\xff\x1a", 3);
	assert_true(text_unhex(p, 0, ""));
	for (i = 0; i < N_ELEMENTS(bad); i++)
		assert_false(text_unhex(p, 3, bad[i]));
}

static void test_base64(void **state)
{
	static const struct {
		const char *in;
		size_t n;
		const char *out;
	} rows[] = {
		{ B(""), "" },
		{ B("f"), "Zg==" },
		{ B("fo"), "Zm8=" },
		{ B("foo"), "Zm9v" },
		{ B("foob"), "Zm9vYg==" },
		{ B("fooba"), "Zm9vYmE=" },
		{ B("foobar"), "Zm9vYmFy" },
		{ B("\0user\0pass"), "AHVzZXIAcGFzcw==" },
		{ B("\xff\xfe\xfd\xfb\xf0"), "//79+/A=" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		size_t n = strlen(rows[i].out);
		struct buf b = BUF_INIT(n);

		assert_true(text_base64(&b, rows[i].in, rows[i].n));
		assert_string_equal(buf_str(&b), rows[i].out);
		buf_free(&b);
		buf_init(&b, n ? n - 1 : 0);
		assert_int_equal(text_base64(&b, rows[i].in, rows[i].n), n == 0);
		buf_free(&b);
	}
}

static void test_small_texts(void **state)
{
	static const struct {
		uint64_t n;
		const char *out;
	} sizes[] = {
		{ 0, "0 B" },
		{ 1023, "1023 B" },
		{ 1024, "1.0 KiB" },
		{ 1536, "1.5 KiB" },
		{ 1048576, "1.0 MiB" },
		{ UINT64_MAX, "16384.0 PiB" },
	};
	char out[16];
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(sizes); i++)
		assert_string_equal(text_bytes(out, sizes[i].n), sizes[i].out);
	assert_string_equal(text_s(0), "s");
	assert_string_equal(text_s(1), "");
	assert_string_equal(text_s(2), "s");
	assert_string_equal(text_s(UINT64_MAX), "s");
	assert_true(text_same("Stls", "sTLS"));
	assert_false(text_same("a", "ab"));
	assert_false(text_same("ab", "a"));
	assert_false(text_same("[", "{")); /* 0x20 apart */
	assert_false(text_same("\xc4", "\xe4"));
	assert_true(text_same_n("OK ", "ok!", 2));
	assert_true(text_starts("pop3s://x", "pop3s:"));
	assert_true(text_starts("x", ""));
	assert_false(text_starts("po", "pop3"));
	assert_false(text_starts("Pop3", "pop3"));
}

static void test_nearest(void **state)
{
	static const char *const known[] = { "folder", "state", "since", "before" };
	static const struct {
		const char *word, *best;
	} rows[] = {
		{ "fodler", "folder" },
		{ "Folder", "folder" },
		{ "sate", "state" },
		{ "sinc", "since" },
		{ "befroe", "before" },
		{ "password", NULL },
		{ "", NULL },
		{ "fo", NULL },
		{ "a-word-that-is-longer-than-any-word-known-here", NULL },
	};
	size_t i, k;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		struct nearest n = NEAREST(rows[i].word);

		for (k = 0; k < N_ELEMENTS(known); k++)
			nearest_offer(&n, known[k]);
		if (rows[i].best)
			assert_string_equal(n.best, rows[i].best);
		else
			assert_null(n.best);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_clip),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_glob),
		cmocka_unit_test(test_number),
		cmocka_unit_test(test_hex),
		cmocka_unit_test(test_base64),
		cmocka_unit_test(test_small_texts),
		cmocka_unit_test(test_nearest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
