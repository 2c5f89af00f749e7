/* t_mime.c: parts of messages, cut at every position. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <popferry/mem.h>
#include <popferry/mime.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEEN_MAX = 1 << 20 };

static void saw_part(void *ctx, const struct mime_part *p)
{
	buf_addf(ctx, "[%s %s%s%s%s%s%s]", p->number, p->type, p->charset[0] ? " " : "",
		p->charset, p->name[0] ? " " : "", p->name, p->attachment ? " A" : "");
}

static void saw_data(void *ctx, const struct mime_part *p, const char *s, size_t n)
{
	(void)p;
	buf_add(ctx, s, n);
}

static void no_data(void *ctx, const struct mime_part *p, const char *s, size_t n)
{
	(void)ctx;
	(void)p;
	(void)s;
	(void)n;
}

static char *seen(const char *text, size_t n, size_t cut)
{
	static const struct mime_to to = { saw_part, saw_data };
	struct buf b = BUF_INIT(SEEN_MAX);
	struct mime *m;

	mime_begin(&m, &to, &b);
	mime_put(m, text, cut);
	mime_put(m, text + cut, n - cut);
	mime_end(&m);
	return buf_take(&b);
}

/* The parts alone, as who wants no bytes is told of them. */
static char *parts(const char *text, size_t n, size_t cut, bool bytes)
{
	static const struct mime_to to = { saw_part, NULL },
				    both = { saw_part, no_data };
	struct buf b = BUF_INIT(SEEN_MAX);
	struct mime *m;

	mime_begin(&m, bytes ? &both : &to, &b);
	mime_put(m, text, cut);
	mime_put(m, text + cut, n - cut);
	mime_end(&m);
	return buf_take(&b);
}

#define TWO "Content-Type: multipart/mixed; boundary=b\r\n\r\n"

static const struct {
	const char *name, *text, *want;
} rows[] = {
	{ "plain", "Subject: x\r\n\r\nHello\r\n", "[1 text/plain]Hello\r\n" },
	{ "nothing", "", "[1 text/plain]" },
	{ "no body", "Subject: x\r\n", "[1 text/plain]" },
	{ "bare LF", "Subject: x\n\nHello\nyou", "[1 text/plain]Hello\nyou" },
	{ "blank line first", "\r\nContent-Type: text/html\r\n\r\n<b>",
		"[1 text/html]<b>" },
	{ "quoted-printable",
		"Content-Type: TEXT/Plain; CHARSET=\"utf-8\"\r\n"
		"Content-Transfer-Encoding: Quoted-Printable\r\n\r\n"
		"caf=C3=A9 =\r\non=3d=zz=4\r\n=\n.=",
		"[1 text/plain utf-8]caf\xc3\xa9 on==zz=4\r\n.=" },
	{ "base64",
		"Content-Transfer-Encoding: base64\r\n\r\nSGVs\r\nbG8=\r\nIQ==\r\n!!",
		"[1 text/plain]Hello!" },
	{ "two parts",
		TWO "preamble\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: image/png; "
		    "name=\"a b.png\"\r\n\r\n\r\ntwo\r\n--b--\r\nepilogue\r\n--b\r\n",
		"[ multipart/mixed][1 text/plain]one[2 image/png a b.png]\r\ntwo" },
	{ "a boundary that only begins so",
		TWO "--b\r\n\r\n--bc\r\n--b-\r\n-- b\r\n--b--",
		"[ multipart/mixed][1 text/plain]--bc\r\n--b-\r\n-- b" },
	{ "blanks behind a boundary", TWO "--b \t\r\n\r\nx\r\n--b-- \r\n",
		"[ multipart/mixed][1 text/plain]x" },
	{ "dashes and long lines in a part",
		TWO "--b\r\n\r\n-\r\na-b\n--\r\nx--b\r\n\r\n---------------\r\n--b\r\n"
		    "Content-Type: image/gif\r\n\r\n\n--b--\r\n-\r\n--b\r\n",
		"[ multipart/mixed][1 text/plain]-\r\na-b\n--\r\nx--b\r\n\r\n"
		"---------------[2 image/gif]" },
	{ "not closed", TWO "--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n",
		"[ multipart/mixed][1 text/plain]one[2 text/plain]two\r\n" },
	{ "a part without a blank line", TWO "--b\r\nX: y\r\n--b--\r\n",
		"[ multipart/mixed][1 text/plain]" },
	{ "nested",
		TWO
		"--b\r\nContent-Type: multipart/alternative;\r\n\tboundary=\"c d\"\r\n"
		"\r\n--c d\r\n\r\nA\r\n--c d\r\nContent-Type: text/html\r\n\r\nB\r\n"
		"--b\r\nContent-Disposition: ATTACHMENT; filename*=utf-8''caf%C3%A9\r\n"
		"\r\nC\r\n--b--\r\n",
		"[ multipart/mixed][1 multipart/alternative][1.1 text/plain]A"
		"[1.2 text/html]B[2 text/plain caf\xc3\xa9 A]C" },
	{ "an attached message is one part",
		"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ntext\r\n",
		"[1 message/rfc822]Subject: in\r\n\r\ntext\r\n" },
	{ "a name in pieces",
		"Content-Disposition: attachment; filename*0*=iso-8859-1''r%E9su;\r\n"
		" filename*1=m%E9; filename*2*=%2Epdf\r\n\r\n",
		"[1 text/plain r\xc3\xa9sum\xc3\xa9.pdf A]" },
	{ "a name as an encoded word",
		"Content-Type: application/pdf; name=\"=?utf-8?q?caf=C3=A9?=.pdf\"\r\n\r\n",
		"[1 application/pdf caf\xc3\xa9.pdf]" },
	{ "a type that is none", "Content-Type: ;;;\r\n\r\nx",
		"[1 application/octet-stream]x" },
	{ "text alone", "Content-Type: text\r\n\r\nx", "[1 text/plain]x" },
	{ "a multipart without a boundary",
		"Content-Type: multipart/mixed\r\n\r\n--x\r\n",
		"[1 multipart/mixed]--x\r\n" },
	{ "comments",
		"Content-Type: text/html (c; x=y); (a) charset (b) = koi8-r\r\n\r\n",
		"[1 text/html koi8-r]" },
	{ "CR alone is no line end", "\rX: y\r\n\r\na\rb\r", "[1 text/plain]a\rb\r" },
};

static void test_rows(void **state)
{
	size_t i, cut;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		size_t n = strlen(rows[i].text);

		for (cut = 0; cut <= n; cut++) {
			char *got = seen(rows[i].text, n, cut);

			if (strcmp(got ? got : "", rows[i].want) != 0)
				fail_msg("%s, cut at %zu: %s", rows[i].name, cut, got);
			free(got);
		}
	}
}

/* What is not decoded is skipped, and no part with it. */
static void test_parts_alone(void **state)
{
	size_t i, cut;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		size_t n = strlen(rows[i].text);
		char *want = parts(rows[i].text, n, n, true);

		for (cut = 0; cut <= n; cut++) {
			char *got = parts(rows[i].text, n, cut, false);

			if (strcmp(got ? got : "", want ? want : "") != 0)
				fail_msg("%s, cut at %zu: %s", rows[i].name, cut, got);
			free(got);
		}
		free(want);
	}
}

/* Deep, many, long, without sense: an end, and no more memory than promised. */
static void test_hostile(void **state)
{
	struct buf b = BUF_INIT(64 * 1024 * 1024);
	size_t i;
	char *got;

	(void)state;
	for (i = 0; i < 2000; i++)
		buf_addf(&b,
			"Content-Type: multipart/mixed; boundary=b%zu\r\n\r\n--b%zu\r\n",
			i, i);
	got = seen(buf_str(&b), b.n, b.n / 2);
	assert_non_null(strstr(got, "multipart"));
	free(got);
	buf_clear(&b);
	buf_adds(&b, TWO);
	for (i = 0; i < 100000; i++)
		buf_adds(&b, "--b\r\n\r\n");
	got = seen(buf_str(&b), b.n, b.n / 2);
	assert_non_null(strstr(got, "[999 text/plain]"));
	assert_null(strstr(got, "[1000 text/plain]"));
	free(got);
	buf_clear(&b);
	buf_adds(&b, "Content-Type: text/plain; charset=\"");
	for (i = 0; i < 3000000; i++)
		buf_addc(&b, "a\\\"(;=*%"[i % 8]);
	got = seen(buf_str(&b), b.n, b.n / 2);
	assert_non_null(got);
	free(got);
	buf_free(&b);
}

static void collect(void *ctx, const char *p, size_t n)
{
	buf_add(ctx, p, n);
}

static const struct {
	const char *set, *in, *want;
} sets[] = {
	{ "iso-8859-1", "caf\xe9", "caf\xc3\xa9" },
	{ "utf-8", "a\xffz\xc3\xa9\xc3", "a\xef\xbf\xbdz\xc3\xa9\xef\xbf\xbd" },
	{ "utf-16be", "\x04\x1f", "\xd0\x9f" },
	{ "iso-2022-jp", "\x1b$B8l\x1b(B.", "\xe8\xaa\x9e." },
	{ "no-such-set", "caf\xe9", "caf\xe9" },
	{ "../../etc/x", "a", "a" },
	{ "utf-8//IGNORE", "a\xff", "a\xff" },
	{ "", "a\xff", "a\xff" },
	{ "us-ascii", "a\xff", "a\xff" },
};

static void test_charsets(void **state)
{
	size_t i, cut;

	(void)state;
	for (i = 0; i < N_ELEMENTS(sets); i++)
		for (cut = 0; cut <= strlen(sets[i].in); cut++) {
			struct buf b = BUF_INIT(1024);
			struct charset *c;

			charset_begin(&c, sets[i].set, collect, &b);
			charset_put(c, sets[i].in, cut);
			charset_put(c, sets[i].in + cut, strlen(sets[i].in) - cut);
			charset_end(&c);
			if (strcmp(buf_str(&b), sets[i].want) != 0)
				fail_msg("%s, cut at %zu: %s", sets[i].set, cut,
					buf_str(&b));
			buf_free(&b);
		}
}

static void add_field(
	void *ctx, const char *name, size_t name_n, const char *value, size_t n)
{
	buf_addf(ctx, "%.*s=%.*s;", (int)name_n, name, (int)n, value);
}

static void test_fields(void **state)
{
	static const char head[] = "A: 1\r\n 2\r\nno field\r\nB :  x \r\nC:\n\r\n";
	struct buf b = BUF_INIT(1024);

	(void)state;
	mime_fields(head, sizeof(head) - 1, add_field, &b);
	assert_string_equal(buf_str(&b), "A=1 2;=no field;B=x;C=;");
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_parts_alone),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_charsets),
		cmocka_unit_test(test_fields),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
