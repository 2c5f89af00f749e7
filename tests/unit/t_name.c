/* t_name.c: folder names: modified UTF-7, and names made fit. */
#include <popferry/buf.h>
#include <popferry/mail.h>
#include <popferry/mem.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define B(s) s, sizeof(s) - 1

static void test_utf7(void **state)
{
	static const struct {
		const char *utf8, *utf7;
	} rows[] = {
		{ "", "" },
		{ "INBOX", "INBOX" },
		{ "a b~!\"\\%*/", "a b~!\"\\%*/" },
		{ "&", "&-" },
		{ "&&-", "&-&--" },
		{ "Entw\xc3\xbcrfe & \xe6\x97\xa5\xe6\x9c\xac",
			"Entw&APw-rfe &- &ZeVnLA-" },
		{ "\xe5\x8f\xb0\xe5\x8c\x97/\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
			"&U,BTFw-/&ZeVnLIqe-" },
		{ "\xc3\xa9&", "&AOk-&-" },
		{ "\xf0\x9f\x98\x80", "&2D3eAA-" },
		{ "a\xf0\x9f\x98\x80\xc3\xa9z", "a&2D3eAADp-z" },
		{ "\xf4\x8f\xbf\xbf", "&2,,f,w-" },
		{ "tab\there", "tab&AAk-here" },
		{ "\x7f", "&AH8-" },
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
		struct buf b = BUF_INIT(256);

		assert_true(utf7_encode(rows[i].utf8, &b));
		assert_string_equal(buf_str(&b), rows[i].utf7);
		buf_clear(&b);
		assert_true(utf7_decode(rows[i].utf7, &b));
		assert_string_equal(buf_str(&b), rows[i].utf8);
		buf_free(&b);
	}
}

static void test_utf7_refused(void **state)
{
	static const char *const not_utf8[] = { "\xff", "a\xc3", "\xc0\x80",
		"\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe6\x97", "\x80",
		"\xc3\xa9\xc3" };
	static const char *const not_utf7[] = {
		"&", "a&", "&AOk", "&A", "&AOk!-", "&AO-", /* no end, short */
		"\xc3\xa9", "a\tb", "\x7f",                /* not printable ASCII */
		"&AGE-", "&ACY-",                          /* "a" and "&" in base64 */
		"&AOl-", "&AOkA-", "&AOkAA-",              /* padding not zero, long */
		"&2D0-", "&3gA-", "&2D0AYQ-", "&2D3YPQ-",  /* half surrogate pairs */
		"&AOk-&AOk-",                              /* one run after another */
		"&AAA-",                                   /* NUL */
		"&U/BTFw-", "&AOk=-",                      /* plain base64 */
	};
	struct buf b = BUF_INIT(256);

	(void)state;
	buf_adds(&b, "kept");
	for (size_t i = 0; i < N_ELEMENTS(not_utf8); i++)
		if (utf7_encode(not_utf8[i], &b))
			fail_msg("encoded row %zu", i);
	for (size_t i = 0; i < N_ELEMENTS(not_utf7); i++)
		if (utf7_decode(not_utf7[i], &b))
			fail_msg("decoded %s to %s", not_utf7[i], buf_str(&b));
	assert_string_equal(buf_str(&b), "kept");
	buf_free(&b);
	/* A ceiling is an answer too, and nothing is left behind. */
	buf_init(&b, 5);
	assert_false(utf7_encode("abc\xc3\xa9", &b));
	assert_false(utf7_decode("abcdef", &b));
	assert_string_equal(buf_str(&b), "");
	buf_free(&b);
}

/* What decodes at all is encoded back to the same bytes. */
static void test_utf7_random(void **state)
{
	static const char alphabet[] = "&-AOk2D3eA+,a \x7f";
	char s[16];
	int decoded = 0;

	(void)state;
	srand(11);
	for (int round = 0; round < 200000; round++) {
		struct buf name = BUF_INIT(256), back = BUF_INIT(256);
		size_t n = (size_t)rand() % sizeof(s);

		for (size_t i = 0; i < n; i++)
			s[i] = alphabet[(size_t)rand() % (sizeof(alphabet) - 1)];
		s[n] = '\0';
		if (utf7_decode(s, &name)) {
			decoded++;
			assert_true(utf7_encode(buf_str(&name), &back));
			assert_string_equal(buf_str(&back), s);
		}
		buf_free(&name);
		buf_free(&back);
	}
	assert_true(decoded > 1000);
}

#define A60 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A57 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
	const char *part;
	size_t n;
	char delimiter;
	const char *clean;
	bool marked; /* "~" and six digits follow */
} parts[] = {
	{ B("Sent"), '/', "Sent", false },
	{ B("Sent Items"), '.', "Sent Items", false },
	{ B("Entw\xc3\xbcrfe & \xe6\x97\xa5"), '/', "Entw\xc3\xbcrfe & \xe6\x97\xa5",
		false },
	{ B("a.b"), '/', "a.b", false },
	{ B("a.b"), '.', "a_b", true },
	{ B("a.b"), 0, "a.b", false },
	{ B("a/b"), '.', "a_b", true },
	{ B("a\\b%c*d\"e^f"), '/', "a_b_c_d_e_f", true },
	{ B("a\0b\r\nc\x7f"), '/', "a_b__c_", true },
	{ B("a\tb"), '/', "a_b", true },
	{ B("\xc2\x85x"), '/', "_x", true },
	{ B("x\xff\xc3y"), '/', "x__y", true },
	{ B(" a  b "), '/', "a b", true },
	{ B("a "), '/', "a", true },
	{ B("~a"), '/', "_~a", true },
	{ B("#a"), '/', "_#a", true },
	{ B(" ~a"), '/', "_~a", true },
	{ B("a~"), '/', "a~", false },
	{ B("."), '/', "_.", true },
	{ B(".."), '/', "_..", true },
	{ B("."), '.', "_", true },
	{ B("..."), '/', "...", false },
	{ B(".a"), '/', ".a", false },
	{ B(""), '/', "_", true },
	{ B("   "), '/', "_", true },
	{ B("_"), '/', "_", false },
	{ B("a~123abc"), '/', "a~123abc", true },
	{ B("a~123abg"), '/', "a~123abg", false },
	{ B(A60 "bcde"), '/', A60 "bcde", false },
	{ B(A60 "bcdef"), '/', A57, true },
	{ B(A60 "bcde "), '/', A57, true },
	{ B("aaaaaaaa" A60), '/', A57, true },
	{ B("                                                               x"), '/',
		"x", true },
	/* 21 characters of 3 bytes are 63; with a mark 19 of them fit */
	{ B("\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5"
	    "\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5"
	    "\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5"
	    "\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5"),
		'/',
		"\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5"
		"\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5"
		"\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5"
		"\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5\xe6\x97\xa5",
		true },
};

static void test_parts(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(parts); i++) {
		struct buf b = BUF_INIT(256);
		size_t n = strlen(parts[i].clean);
		char *copy = xmalloc(parts[i].n);

		memcpy(copy, parts[i].part, parts[i].n);
		name_part(copy, parts[i].n, parts[i].delimiter, &b);
		free(copy);
		if (b.n != n + (parts[i].marked ? 7 : 0) ||
			memcmp(b.p, parts[i].clean, n) != 0 ||
			(parts[i].marked &&
				(b.p[n] != '~' ||
					strspn(b.p + n + 1, "0123456789abcdef") != 6)))
			fail_msg("row %zu: %s", i, buf_str(&b));
		assert_true(b.n > 0 && b.n <= 64);
		buf_free(&b);
	}
}

static void test_mark_is_of_the_part(void **state)
{
	struct buf b = BUF_INIT(64);

	(void)state;
	name_part(B("a/b"), '/', &b); /* SHA-256 of "a/b" is c14cddc0... */
	assert_string_equal(buf_str(&b), "a_b~c14cdd");
	buf_free(&b);
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Different names stay different, and are fit. */
static void test_different(void **state)
{
	enum { NAMES = 3000 };
	static const char *const bits[] = { "a", "b", " ", "_", ".", "/", "%", "~", "#",
		"\xc3\xa9", "\xc3", "\n", "~12ab34", A57 };
	char **in = xcalloc(NAMES, sizeof(*in)), **out = xcalloc(NAMES, sizeof(*out));
	size_t n = 0, i;

	(void)state;
	srand(5);
	for (i = 0; i < NAMES; i++) {
		struct buf b = BUF_INIT(1024);

		for (int k = rand() % 6; k >= 0; k--)
			buf_adds(&b, bits[(size_t)rand() % N_ELEMENTS(bits)]);
		in[i] = buf_take(&b);
	}
	qsort(in, NAMES, sizeof(*in), compare);
	for (i = 0; i < NAMES; i++) {
		struct buf b = BUF_INIT(1024);

		if (i > 0 && strcmp(in[i], in[i - 1]) == 0)
			continue;
		name_part(in[i], strlen(in[i]), '.', &b);
		assert_true(b.n > 0 && b.n <= 64);
		assert_null(strpbrk(b.p, "./%*\"\\^\n"));
		assert_null(strchr("~# ", b.p[0]));
		out[n++] = buf_take(&b);
	}
	qsort(out, n, sizeof(*out), compare);
	for (i = 1; i < n; i++)
		if (strcmp(out[i], out[i - 1]) == 0)
			fail_msg("twice: %s", out[i]);
	assert_true(n > 1000);
	for (i = 0; i < NAMES; i++) {
		free(in[i]);
		free(out[i]);
	}
	free(in);
	free(out);
}

/* The clean form of one name is not the clean form of another. */
static void test_no_forgery(void **state)
{
	struct buf a = BUF_INIT(64), b = BUF_INIT(64);

	(void)state;
	name_part(B("a/b"), '/', &a);
	name_part(a.p, a.n, '/', &b);
	assert_string_not_equal(buf_str(&a), buf_str(&b));
	buf_free(&a);
	buf_free(&b);
}

static void test_clean(void **state)
{
	static const struct {
		const char *name;
		char delimiter;
		const char *clean;
	} rows[] = {
		{ "INBOX", '/', "INBOX" },
		{ "a/b/c", '.', "a/b/c" },
		{ "/a//b/", '/', "a/b" },
		{ "", '/', "" },
		{ "//", '/', "" },
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
		struct buf b = BUF_INIT(256);

		name_clean(rows[i].name, rows[i].delimiter, &b);
		assert_string_equal(buf_str(&b), rows[i].clean);
		buf_free(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_utf7),
		cmocka_unit_test(test_utf7_refused),
		cmocka_unit_test(test_utf7_random),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_mark_is_of_the_part),
		cmocka_unit_test(test_different),
		cmocka_unit_test(test_no_forgery),
		cmocka_unit_test(test_clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
