/* t_rescue.c: the forms of a message for servers that refuse it as it is. */
#include <popferry/buf.h>
#include <popferry/mail.h>
#include <popferry/mem.h>

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define B(s) s, sizeof(s) - 1

static int dirfd_;
static struct spool *spool_;

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	dirfd_ = open(tmp ? tmp : "/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd_ < 0)
		return -1;
	spool_open(&spool_, dirfd_, 8 * 1024 * 1024);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	spool_close(&spool_);
	return close(dirfd_);
}

static struct message *make(const char *p, size_t n)
{
	struct err err = ERR_INIT;
	struct message_maker *mk;
	struct message *m = NULL;

	message_begin(&mk, spool_);
	message_put(mk, p, n);
	assert_int_equal(message_end(&mk, &m, &err), ST_OK);
	return m;
}

static void take(void *ctx, const char *p, size_t n)
{
	assert_true(buf_add(ctx, p, n));
}

static enum status form(enum rescue how, const char *p, size_t n, struct buf *out)
{
	struct message *m = make(p, n), *made = NULL;
	struct err err = ERR_INIT;
	struct buf head;
	size_t k;
	enum status rc = rescue_write(how, m, take, out, &err);

	if (rc == ST_OK) {
		/* The three ways to have it agree, and it goes up as it is. */
		assert_int_equal(rescue_make(&made, how, m, spool_, &err), ST_OK);
		assert_int_equal(made->facts.size, out->n);
		assert_int_equal(made->facts.wire, out->n);
		assert_false(made->facts.anomalies & (AN_NUL | AN_BARE_LF));
		assert_int_equal(rescue_head(how, m, &head, &err), ST_OK);
		assert_int_equal(made->facts.header_size, head.n);
		assert_memory_equal(head.p, out->p, head.n);
		for (k = 0; k < head.n; k++)
			assert_true((unsigned char)head.p[k] < 0x80 && head.p[k]);
		buf_free(&head);
		message_free(&made);
	}
	message_free(&m);
	return rc;
}

static void test_repair(void **state)
{
	static const struct {
		const char *name, *in;
		size_t in_n;
		const char *out; /* NULL: nothing to repair */
	} rows[] = {
		{ "nothing", B("From: a\r\nSubject: x\r\n y\r\n\r\nb\r\n"), NULL },
		{ "empty", B(""), NULL },
		{ "no header", B("\r\nbody\r\n"), NULL },
		{ "line ends are no repair", B("From: a\n\nb\n"), NULL },
		{ "mbox line",
			B("From a@b Mon Jan 1 00:00:00 2024\r\nTo: x\r\n\r\nb\r\n"),
			"To: x\r\n\r\nb\r\n" },
		{ "quoted mbox line", B(">From a@b Mon\r\nTo: x\r\n\r\nb\r\n"),
			"X-Unparsable: >From a@b Mon\r\nTo: x\r\n\r\nb\r\n" },
		{ "no colon", B("From: a\r\nwhat is this\r\nTo: x\r\n\r\nb\r\n"),
			"From: a\r\nX-Unparsable: what is this\r\nTo: x\r\n\r\nb\r\n" },
		{ "bad name", B("From: a\r\nBad Name: b\r\n c\r\n\r\nb\r\n"),
			"From: a\r\nX-Unparsable: Bad Name: b\r\n c\r\n\r\nb\r\n" },
		{ "no name", B("From: a\r\n: b\r\n\r\nb\r\n"),
			"From: a\r\nX-Unparsable: : b\r\n\r\nb\r\n" },
		{ "blank before the colon",
			B("From: a\r\nSubject : b\r\n c\r\n\r\nb\r\n"),
			"From: a\r\nSubject: b\r\n c\r\n\r\nb\r\n" },
		{ "blank line first", B("\r\nFrom: a\r\n\r\nb\r\n"),
			"From: a\r\n\r\nb\r\n" },
		{ "UTF-8 in a subject",
			B("Subject: a caf\xc3\xa9 au lait\r\n\r\nb\r\n"),
			"Subject: a =?utf-8?B?Y2Fmw6k=?= au lait\r\n\r\nb\r\n" },
		{ "neighbours together", B("Subject: a \xc3\xa9 \xc3\xa9 b\r\n\r\n"),
			"Subject: a =?utf-8?B?w6kgw6k=?= b\r\n\r\n" },
		{ "unknown bytes", B("X-Any: caf\xe9\r\n\r\nb\r\n"),
			"X-Any: =?unknown-8bit?B?Y2Fm6Q==?=\r\n\r\nb\r\n" },
		{ "a name with 8-bit bytes", B("caf\xe9: x\r\nTo: x\r\n\r\n"),
			"X-Unparsable: =?unknown-8bit?B?Y2Fm6To=?= x\r\nTo: x\r\n\r\n" },
		{ "addresses",
			B("From: \"J\xc3\xa9r\xc3\xb4me \\\"x\\\"\" <j@x.org>, "
			  "(b\xc3\xa9) b@x.org, "
			  "Zo\xc3\xa9 Q <\xc3\xa9@x.org>\r\n\r\nb\r\n"),
			"From: =?utf-8?B?SsOpcsO0bWUgIngi?= <j@x.org>, "
			"(=?utf-8?B?YsOp?=) b@x.org,\r\n =?utf-8?B?Wm/DqQ==?= Q "
			"<??@x.org>\r\n\r\nb\r\n" },
		{ "what programs read", B("Received: by \xe9; x\r\n\r\nb\r\n"),
			"Received: by ?; x\r\n\r\nb\r\n" },
		{ "NUL", B("Subject: a\0b\r\n\r\nb\0\r\n"),
			"Subject: =?utf-8?B?Ye+/vWI=?=\r\n\r\nb\x80\r\n" },
		{ "the body is not touched",
			B("what\r\n\r\nFrom me\r\nbad line\xe9\rx\r\n"),
			"X-Unparsable: what\r\n\r\nFrom me\r\nbad line\xe9\rx\r\n" },
		{ "header only, without its end", B("Subject : x"), "Subject: x\r\n" },
		{ "bare LF all over", B("From x\nTo: a\n\nb\nc"),
			"To: a\r\n\r\nb\r\nc\r\n" },
		{ "a lone CR ends a header line", B("A: b\rC: d\r\n\r\nb\r\n"),
			"A: b\r\nC: d\r\n\r\nb\r\n" },
	};
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(rows); k++) {
		struct buf out = BUF_INIT(64 * 1024);
		enum status rc = form(RESCUE_REPAIR, rows[k].in, rows[k].in_n, &out);

		if (rc != (rows[k].out ? ST_OK : ST_END) ||
			strcmp(buf_str(&out), rows[k].out ? rows[k].out : "") != 0)
			fail_msg("%s: %d: %s", rows[k].name, rc, buf_str(&out));
		buf_free(&out);
	}
}

/* The longest line of the header, without its end. */
static size_t longest(const struct buf *b)
{
	const char *p = b->p, *nl, *end = strstr(b->p, "\r\n\r\n") + 2;
	size_t max = 0;

	for (; p < end; p = nl + 1) {
		nl = strchr(p, '\n');
		if ((size_t)(nl - p) - 1 > max)
			max = (size_t)(nl - p) - 1;
	}
	return max;
}

static bool is_ascii_header(const struct buf *b)
{
	const char *p = b->p, *end = strstr(b->p, "\r\n\r\n");

	for (; p < end; p++)
		if ((*p < ' ' || *p > '~') && *p != '\r' && *p != '\n' && *p != '\t')
			return false;
	return true;
}

static void test_long_lines(void **state)
{
	struct buf in = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20);
	int i;

	(void)state;
	buf_adds(&in, "To: ");
	for (i = 0; i < 500; i++)
		buf_addf(&in, "a%d@example.org, ", i);
	buf_adds(&in, "z@example.org\r\nSubject: x\r\n\r\n");
	for (i = 0; i < 500; i++)
		buf_adds(&in, "long ");
	buf_adds(&in, "\r\n");
	assert_int_equal(form(RESCUE_REPAIR, in.p, in.n, &out), ST_OK);
	assert_true(longest(&out) <= 998);
	assert_non_null(strstr(out.p, "\r\nSubject: x\r\n\r\nlong long"));
	assert_null(strstr(out.p, "\r\n \r\n"));
	/* A word without a blank stays: a blank in it would be another word. */
	buf_clear(&in);
	buf_clear(&out);
	buf_adds(&in, "Bad name: ");
	for (i = 0; i < 1200; i++)
		buf_addc(&in, 'x');
	buf_adds(&in, "\r\n\r\n");
	assert_int_equal(form(RESCUE_REPAIR, in.p, in.n, &out), ST_OK);
	assert_true(longest(&out) >= 1200);
	buf_free(&in);
	buf_free(&out);
}

static void unbase64(const char *p, struct buf *out)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *d;
	unsigned v = 0, bits = 0;

	for (; *p && *p != '-'; p++) {
		d = *p == '=' || *p == '\r' || *p == '\n' ? NULL : strchr(digits, *p);
		if (!d)
			continue;
		v = v << 6 | (unsigned)(d - digits);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			buf_addc(out, (char)(v >> bits & 0xff));
		}
	}
}

/* What stands between the header of the second part and its end. */
static char *part(const struct buf *b)
{
	const char *p = strstr(b->p, "filename=\"original.eml\"\r\n\r\n");
	const char *boundary = strstr(b->p, "boundary=\"") + 10;
	size_t n = strcspn(boundary, "\"");
	char mark[100];
	const char *end;

	snprintf(mark, sizeof(mark), "\r\n--%.*s--\r\n", (int)n, boundary);
	assert_non_null(p);
	p = strchr(p, '\n') + 1;
	p = strchr(p, '\n') + 1;
	end = memmem(p, b->n - (size_t)(p - b->p), mark, strlen(mark));
	assert_non_null(end);
	assert_true(end + strlen(mark) == b->p + b->n);
	return xmemdup0(p, (size_t)(end - p));
}

static void test_wrap(void **state)
{
	static const struct {
		const char *name, *in;
		size_t in_n;
		bool base64;
		const char *head; /* all of the header but its MIME fields */
	} rows[] = {
		{ "clean",
			B("Received: x\r\nMessage-ID: <a@b>\r\nFrom: Ann <a@b>\r\n"
			  "To: b@c,\r\n c@d\r\nCc: e@f\r\nSubject: hello\r\n"
			  "Date: Mon, 1 Jan 2024 10:00:00 +0100\r\n"
			  "References: <1@x> junk\r\n <2@x>\r\nIn-Reply-To: <2@x>\r\n"
			  "X-Other: y\r\n\r\nb\xe9\r\n"),
			false,
			"From: Ann <a@b>\r\nTo: b@c, c@d\r\nCc: e@f\r\n"
			"Subject: hello\r\nDate: Mon, 1 Jan 2024 10:00:00 +0100\r\n"
			"Message-ID: <a@b>\r\nIn-Reply-To: <2@x>\r\n"
			"References: <1@x> <2@x>\r\n" },
		{ "no final end", B("Subject: a\r\n\r\nb"), false, "Subject: a\r\n" },
		{ "NUL", B("Subject: a\r\n\r\nb\0c\r\n"), true, "Subject: a\r\n" },
		{ "bare LF", B("Subject: a\n\nb\n"), true, "Subject: a\r\n" },
		{ "8-bit header", B("Subject: \xc3\xa9\r\n\r\nb\r\n"), true,
			"Subject: =?utf-8?B?w6k=?=\r\n" },
		{ "no field", B("Subject: a\r\nwhat\r\n\r\nb\r\n"), true,
			"Subject: a\r\n" },
		{ "mbox line", B("From x\r\nSubject: a\r\n\r\nb\r\n"), true,
			"Subject: a\r\n" },
		{ "empty", B(""), true, "" },
		{ "no header", B("\r\nwhat\r\n"), false, "" },
		{ "injection",
			B("Subject: a\rBcc: evil@x\r\nTo: \"a\rCc: b\" <c@d>\r\n"
			  "From: \x1b[31m\x7f<a@b>\r\nMessage-ID: <a b\r\n\tc@d>\r\n\r\nb\r\n"),
			true, NULL },
		{ "a date in odd bytes",
			B("Date: Mon, 1 Jan 2024 10:00:00 -0530 (\xe9)\r\n\r\nb\r\n"),
			true, "Date: Mon, 1 Jan 2024 10:00:00 -0530\r\n" },
		{ "no date", B("Date: soon\r\nSubject: x\r\n\r\nb\r\n"), false,
			"Subject: x\r\n" },
		{ "two Message-IDs",
			B("Message-ID: <a@b>\r\nMessage-ID: <c@d>\r\n\r\nb\r\n"), false,
			"" },
	};
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(rows); k++) {
		struct buf out = BUF_INIT(64 * 1024), got = BUF_INIT(64 * 1024);
		const char *mime;
		char *inner;

		assert_int_equal(
			form(RESCUE_WRAP, rows[k].in, rows[k].in_n, &out), ST_OK);
		mime = strstr(out.p, "MIME-Version: 1.0\r\n");
		assert_non_null(mime);
		if (rows[k].head &&
			(strlen(rows[k].head) != (size_t)(mime - out.p) ||
				memcmp(rows[k].head, out.p, strlen(rows[k].head)) != 0))
			fail_msg("%s: %s", rows[k].name, out.p);
		assert_true(is_ascii_header(&out));
		assert_null(strstr(out.p, "\r\nBcc:"));
		assert_true(longest(&out) <= 998);
		if (!strstr(out.p, "base64") == rows[k].base64)
			fail_msg("%s: wrong kind of part", rows[k].name);
		/* What was sent can be had again. */
		inner = part(&out);
		if (rows[k].base64) {
			unbase64(inner, &got);
			assert_int_equal(got.n, rows[k].in_n);
			assert_true(!got.n || memcmp(got.p, rows[k].in, got.n) == 0);
		} else {
			assert_true(strncmp(inner, rows[k].in, rows[k].in_n) == 0);
		}
		free(inner);
		buf_free(&out);
		buf_free(&got);
	}
}

/* Nothing but the message decides, and no two messages have one boundary. */
static void test_same_again(void **state)
{
	static const char text[] = "Subject: \xe9\r\n\r\nb\r\n";
	struct buf a = BUF_INIT(4096), b = BUF_INIT(4096), c = BUF_INIT(4096);
	const char *p, *q;

	(void)state;
	form(RESCUE_WRAP, B(text), &a);
	form(RESCUE_WRAP, B(text), &b);
	form(RESCUE_WRAP, B("Subject: \xe8\r\n\r\nb\r\n"), &c);
	assert_int_equal(a.n, b.n);
	assert_memory_equal(a.p, b.p, a.n);
	p = strstr(a.p, "boundary=");
	q = strstr(c.p, "boundary=");
	assert_true(strncmp(p, q, 60) != 0);
	buf_free(&a);
	buf_free(&b);
	buf_free(&c);
}

static void count(void *ctx, const char *p, size_t n)
{
	uint64_t *all = ctx;

	(void)p;
	assert_true(n <= 64 * 1024 || *all == 0);
	*all += n;
}

/* A large message goes by in pieces, from memory or a file. */
static void test_large(void **state)
{
	static const size_t size = 3 * 1024 * 1024;
	char *text = xmalloc(size);
	struct err err = ERR_INIT;
	struct message *m, *made;
	uint64_t all = 0;
	size_t k;

	(void)state;
	for (k = 0; k < size; k++)
		text[k] = "line of text\r\n"[k % 14];
	memcpy(text, "Bad: \0\r\n\r\n", 10);
	m = make(text, size);
	assert_int_equal(rescue_write(RESCUE_WRAP, m, count, &all, &err), ST_OK);
	assert_true(all > size / 57 * 78);
	assert_int_equal(rescue_make(&made, RESCUE_WRAP, m, spool_, &err), ST_OK);
	assert_true(made->facts.size == all);
	message_free(&made);
	message_free(&m);
	free(text);
}

/* Whatever comes, the result is a message with an ASCII header. */
static void test_random(void **state)
{
	static const char *const bits[] = { "From", " ", ":", "\r\n", "\n", "\r", "\t",
		"\xc3\xa9", "\xff", "<", ">", "\"", "(", ")", "@", ",", "\\", "Subject",
		"To", "Message-ID", "References", "=?x?Q?y?=", "", "a", "\r\n\r\n",
		"Date: 1 Jan 2024 10:00" };
	struct buf in = BUF_INIT(64 * 1024), out = BUF_INIT(256 * 1024);
	int round, i, n;

	(void)state;
	srand(7);
	for (round = 0; round < 5000; round++) {
		buf_clear(&in);
		n = rand() % 60;
		for (i = 0; i < n; i++) {
			size_t k = (size_t)rand() % N_ELEMENTS(bits);

			buf_add(&in, bits[k], *bits[k] ? strlen(bits[k]) : 1);
		}
		buf_clear(&out);
		assert_int_equal(form(RESCUE_WRAP, buf_str(&in), in.n, &out), ST_OK);
		assert_true(is_ascii_header(&out));
		assert_true(longest(&out) <= 998);
		buf_clear(&out);
		form(RESCUE_REPAIR, buf_str(&in), in.n, &out);
	}
	buf_free(&in);
	buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_repair),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_same_again),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
