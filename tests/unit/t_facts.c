/* t_facts.c: header facts, oddities, texts and their bounds. */
#include "facts_kit.h"

#include <popferry/buf.h>
#include <popferry/text.h>

#include <fcntl.h>
#include <unistd.h>

/* ---- oddities ---- */

#define X50 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X250 X50 X50 X50 X50 X50
#define X998 \
	X250 X250 X250 X50 X50 X50 X50 \
		"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define GOOD "Message-ID: <a@b>\r\nDate: Fri, 5 Jan 2024 10:00:00 +0000\r\n"

static void test_anomalies(void **state)
{
	enum { G = sizeof(GOOD) - 1 };
	static const struct {
		const char *names, *text;
		size_t n;
		uint32_t header_size;
	} rows[] = {
		{ "", B(GOOD "\r\nx\r\n"), G + 2 },
		{ "", B(GOOD), G },
		{ "nul", B(GOOD "\r\n\0\r\n"), G + 2 },
		{ "bare-lf", B(GOOD "\r\na\nb\r\n"), G + 2 },
		{ "bare-lf no-final-eol", B(GOOD "\n"), G + 1 },
		{ "bare-cr", B(GOOD "\r\na\rb\r\n"), G + 2 },
		{ "bare-cr", B(GOOD "\r\n\r\r\n"), G + 2 },
		{ "bare-cr", B(GOOD "\r\r\n\r\n"), G + 3 },
		{ "bare-cr no-final-eol", B(GOOD "\r\na\r"), G + 2 },
		{ "8bit-header", B(GOOD "X: \xe9\r\n\r\nx\r\n"), G + 8 },
		{ "", B(GOOD "\r\n\xe9\r\n"), G + 2 },
		{ "no-final-eol", B(GOOD "\r\nx"), G + 2 },
		{ "", B(GOOD "\r\n" X998 "\r\n"), G + 2 },
		{ "long-line", B(GOOD "\r\n" X998 "x\r\n"), G + 2 },
		{ "bare-lf", B(GOOD "\r\n" X998 "\n\r\n"), G + 2 },
		{ "bare-lf long-line", B(GOOD "\r\n" X998 "x\n\r\n"), G + 2 },
		{ "long-line", B(GOOD "X: " X998 "\r\n\r\n"), G + 3 + 998 + 4 },
		{ "no-final-eol long-line", B(GOOD "\r\n" X998 "x"), G + 2 },
		{ "bare-cr long-line", B(GOOD "\r\n" X998 "\rx\r\n"), G + 2 },
		{ "no-msgid", B("Date: 5 Jan 2024 10:00:00 +0000\r\n\r\n"), 35 },
		{ "no-msgid",
			B("Message-ID:\r\nDate: 5 Jan 2024 10:00:00 +0000\r\n\r\n"),
			48 },
		{ "no-msgid", B("Message-ID: < >\r\nDate: 5 Jan 2024 10:00:00\r\n\r\n"),
			46 },
		{ "no-date", B("Message-ID: <a>\r\n\r\n"), 19 },
		{ "no-date", B("Message-ID: <a>\r\nDate: 31 Feb 2024 10:00:00\r\n\r\n"),
			47 },
		{ "mbox-from", B("From a Fri Jan 5\r\n" GOOD "\r\nx\r\n"), 18 + G + 2 },
		{ "no-final-eol no-msgid no-date", B(""), 0 },
		{ "no-msgid no-date", B("\r\n"), 2 },
		{ "no-msgid no-date", B("\r\n\r\nx: y\r\n\r\nz\r\n"), 12 },
		{ "no-msgid no-date", B("\r\n\r\nx y\r\n\r\nz\r\n"), 2 },
		{ "no-msgid no-date mbox-from", B("From x\r\n\r\nx y\r\n"), 10 },
		{ "no-msgid no-date mbox-from", B("From x\r\n\r\ny: x\r\n\r\nz\r\n"),
			18 },
		{ "no-msgid no-date", B("just text\r\n\r\nmore\r\n"), 13 },
	};
	char names[160];

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
		for (size_t cut = 0; cut <= rows[i].n; cut++) {
			struct facts f = facts_cut(
				rows[i].text, rows[i].n, cut, cut % 7 ? rows[i].n : 1);

			anomaly_names(f.anomalies, names);
			if (!same_text(names, rows[i].names))
				fail_msg("row %zu, cut at %zu: %s", i, cut, names);
			if (f.header_size != rows[i].header_size)
				fail_msg("row %zu, cut at %zu: header of %u bytes", i,
					cut, f.header_size);
			facts_release(&f);
		}
	}
	assert_true(strlen(anomaly_names(~0U, names)) < sizeof(names));
}

/* ---- texts ---- */

static void test_texts(void **state)
{
	static const char text[] =
		"From someone Fri Jan  5 10:00:00 2024\r\n"
		"Received: from b; (;) Fri, 5 Jan 2024\r\n 10:00:05 +0100\r\n"
		"Received: from c; Thu, 4 Jan 2024 10:00:00 +0000\r\n"
		"this line is junk\r\n"
		" and this goes with it: Subject: no\r\n"
		"Bad Name: junk\r\n"
		": junk\r\n"
		"subject  :\t first\r\n\t  and\r\n \r\n last \t\r\n"
		"Subject: second\r\n"
		"From: \xe9 \"a\" <a@b>\n"
		"To: x\0y\r\r\n"
		"CC:\r\n"
		"List-ID: <l.example>\r\n"
		"Date: Fri, 5 Jan 2024 10:00:00 +0000 (x)\r\n"
		"Message-Id: <a b@c> (x)\r\n"
		"STATUS: RO\r\n"
		"X-Status: A\r\n"
		"\r\n"
		"Subject: body\r\n";
	struct facts f;

	(void)state;
	f = facts_of(text, sizeof(text) - 1);
	assert_string_equal(f.subject, "first and last");
	assert_string_equal(f.from, "\xe9 \"a\" <a@b>");
	assert_string_equal(f.to, "x\xef\xbf\xbdy");
	assert_string_equal(f.cc, "");
	assert_string_equal(f.list_id, "<l.example>");
	assert_string_equal(f.date, "Fri, 5 Jan 2024 10:00:00 +0000 (x)");
	assert_string_equal(f.received, "from b; (;) Fri, 5 Jan 2024 10:00:05 +0100");
	assert_string_equal(f.status, "RO");
	assert_string_equal(f.x_status, "A");
	assert_string_equal(f.message_id, "<ab@c>");
	assert_true(f.has_msgid);
	assert_true(f.date_when.known && f.date_when.utc == 1704448800);
	assert_true(f.received_when.known && f.received_when.utc == 1704445205);
	assert_int_equal(f.received_when.zone, 60);
	for (size_t cut = 0; cut < sizeof(text); cut++) {
		struct facts g = facts_cut(text, sizeof(text) - 1, cut, 1 + cut % 9);

		assert_true(same_facts(&f, &g));
		facts_release(&g);
	}
	facts_release(&f);
	facts_release(&f);

	f = facts_of(B("\r\n"));
	assert_null(f.subject);
	assert_null(f.message_id);
	assert_false(f.date_when.known);
	facts_release(&f);
}

static void test_msgid(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		const char *normal; /* NULL: none */
	} rows[] = {
		{ B("<a@b>"), "<a@b>" },
		{ B(" \t<a@b> \r\n"), "<a@b>" },
		{ B("<a@\r\n b>"), "<a@b>" },
		{ B("<A@b.Example>"), "<A@b.Example>" },
		{ B("(x) <a@b> (y)"), "<a@b>" },
		{ B("(<x>) <a@b>"), "<a@b>" },
		{ B("((\\)<x>)) <a@b>"), "<a@b>" },
		{ B("(x <a@b>"), "<a@b>" },
		{ B("x y <a@b> <c@d>"), "<a@b>" },
		{ B("a@b"), "<a@b>" },
		{ B(" a @ b "), "<a@b>" },
		{ B("<a@b"), "<a@b>" },
		{ B("a@b>"), "<a@b>" },
		{ B("<(a)@b>"), "<(a)@b>" },
		{ B("<caf\xe9@b>"), "<caf\xe9@b>" },
		{ B(""), NULL },
		{ B(" "), NULL },
		{ B("<>"), NULL },
		{ B("< \t>"), NULL },
		{ B("<a\0b>"), NULL },
		{ B("<a\x01@b>"), NULL },
		{ B("\\"), "<\\>" },
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
		struct buf b = BUF_INIT(64);
		char *copy = xmalloc(rows[i].n);
		bool ok;

		memcpy(copy, rows[i].text, rows[i].n);
		ok = msgid_normal(copy, rows[i].n, &b);
		free(copy);
		if (ok != (rows[i].normal != NULL) ||
			strcmp(buf_str(&b), ok ? rows[i].normal : "") != 0)
			fail_msg("row %zu: %s", i, buf_str(&b));
		buf_free(&b);
	}
}

static void test_has_msgid(void **state)
{
	static const struct {
		const char *text;
		bool has;
		const char *id;
	} rows[] = {
		{ "Message-ID: <a>\n\n", true, "<a>" },
		{ "Message-ID: <a>\nMessage-Id: (x) <a>\n\n", true, "<a>" },
		{ "Message-ID: <a>\nMessage-ID: <b>\n\n", false, "<a>" },
		{ "Message-ID: <a>\nMessage-ID: <b>\nMessage-ID: <a>\n\n", false,
			"<a>" },
		{ "Message-ID: <>\nMessage-ID: <b>\n\n", true, "<b>" },
		{ "Message-ID: <b>\nMessage-ID:\n\n", true, "<b>" },
		{ "Subject: x\n\nMessage-ID: <b>\n\n", false, NULL },
	};
	char *text, *x;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
		struct facts f = facts_of(rows[i].text, strlen(rows[i].text));

		if (f.has_msgid != rows[i].has || !same_text(f.message_id, rows[i].id))
			fail_msg("row %zu", i);
		facts_release(&f);
	}
	/* 998 bytes are an identity, 999 are not; neither is "no Message-ID". */
	for (size_t n = 997; n < 10000; n = n < 999 ? n + 1 : n * 3) {
		struct facts f;

		x = xcalloc(1, n);
		memset(x, 'x', n - 1);
		text = xasprintf("Message-ID: %s\n\n", x);
		f = facts_of(text, strlen(text));
		assert_int_equal(f.has_msgid, n - 1 + 2 <= 998);
		assert_false(f.anomalies & AN_NO_MSGID);
		assert_true(strlen(f.message_id) <= FACT_MAX);
		facts_release(&f);
		free(text);
		free(x);
	}
}

/* ---- bounds ---- */

/* A header that never ends, in each way: bounded, and equal in any cutting. */
static void test_header_cut(void **state)
{
	static const char *const bits[] = { "x", "Subject: y\r\n", "\r\n",
		"To: a\n b\n", "\r", "From ", ":", " ", "junk\r\n" };
	enum { BIG = HEADER_MAX + 100000 };
	char *p = xmalloc(BIG);

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(bits); i++) {
		struct facts f, g;
		size_t k = strlen(bits[i]);

		for (size_t o = 0; o < BIG; o++)
			p[o] = bits[i][o % k];
		f = facts_of(p, BIG);
		g = facts_cut(p, BIG, 777777, 65537);
		assert_true(same_facts(&f, &g));
		assert_true(f.header_size <= HEADER_MAX);
		assert_true(
			!(f.anomalies & AN_HEADER_CUT) || f.header_size == HEADER_MAX);
		if (f.subject)
			assert_true(strlen(f.subject) <= FACT_MAX);
		facts_release(&f);
		facts_release(&g);
	}
	free(p);
}

/* Line ends do not count, however long the header; what comes late does. */
static void test_header_cut_exact(void **state)
{
	enum { MAX = 4 * HEADER_MAX };
	struct buf crlf = BUF_INIT(MAX), lf = BUF_INIT(MAX);
	struct facts f, g;

	(void)state;
	for (int i = 0; lf.n < HEADER_MAX + 5000; i++) {
		buf_addf(&crlf, "Field-%d: x\r\n", i);
		buf_addf(&lf, "Field-%d: x\n", i);
	}
	buf_adds(&crlf, "Subject: late\r\n\r\nbody\r\n");
	buf_adds(&lf, "Subject: late\n\nbody\n");
	f = facts_of(crlf.p, crlf.n);
	g = facts_of(lf.p, lf.n);
	assert_true(f.anomalies & g.anomalies & AN_HEADER_CUT);
	assert_null(f.subject);
	assert_memory_equal(f.exact, g.exact, DIGEST);
	assert_memory_equal(f.body, g.body, DIGEST);
	assert_memory_equal(f.loose, g.loose, DIGEST);
	facts_release(&g);
	lf.p[lf.n - 2] = 'Y';
	g = facts_of(lf.p, lf.n);
	assert_memory_not_equal(f.exact, g.exact, DIGEST);
	facts_release(&f);
	facts_release(&g);
	buf_free(&crlf);
	buf_free(&lf);
}

/* Byte by byte must not cost the square. */
static void test_slow_feed(void **state)
{
	static const char *const bits[] = { "x", "\r", "From ", " ", "a\r" };
	enum { N = 300000 };
	char *p = xmalloc(N);

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(bits); i++) {
		struct facts f;

		for (size_t o = 0; o < N; o++)
			p[o] = bits[i][o % strlen(bits[i])];
		f = facts_cut(p, N, 0, 1);
		facts_release(&f);
	}
	free(p);
}

static void test_given_up(void **state)
{
	struct facts_maker *fm;

	(void)state;
	facts_begin(&fm);
	facts_put(fm, B("Subject: x\r\nMessage-ID: <a>\r\n"));
	facts_end(&fm, NULL);
	assert_null(fm);
	facts_begin(&fm);
	facts_put(fm, B("Subject: x\r\nMessage-ID: <a>\r\n\r\na\rb\0c"));
	facts_end(&fm, NULL);
	assert_null(fm);
}

/* ---- messages ---- */

static void test_field(void **state)
{
	static const char text[] = "Received: a\r\nX-Gmail-Labels: x,\r\n y\r\n"
				   "junk\r\nreceived: b\r\nRECEIVED : c\r\n\r\n"
				   "Received: body\r\n";
	static const struct {
		const char *name;
		unsigned n;
		const char *value;
	} rows[] = {
		{ "Received", 0, "a" },
		{ "Received", 1, "b" },
		{ "Received", 2, "c" },
		{ "Received", 3, NULL },
		{ "x-gmail-labels", 0, "x, y" },
		{ "junk", 0, NULL },
		{ "", 0, NULL },
	};
	struct err err = ERR_INIT;
	struct message_maker *mk;
	struct message *m;
	struct spool *sp;
	int fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	/* Once from memory, once from a file. */
	for (size_t memory = 0; memory <= 1024 * 1024; memory += 1024 * 1024) {
		spool_open(&sp, fd, memory);
		message_begin(&mk, sp);
		message_put(mk, B(text));
		assert_int_equal(message_end(&mk, &m, &err), ST_OK);
		for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
			struct buf b = BUF_INIT(FACT_MAX);
			bool found = message_field(m, rows[i].name, rows[i].n, &b);

			if (found != (rows[i].value != NULL) ||
				strcmp(buf_str(&b), found ? rows[i].value : "") != 0)
				fail_msg("%s %u: %s", rows[i].name, rows[i].n,
					buf_str(&b));
			buf_free(&b);
		}
		message_free(&m);
		/* Dropped half way. */
		message_begin(&mk, sp);
		message_put(mk, B(text));
		message_drop(&mk);
		assert_null(mk);
		message_drop(&mk);
		message_free(&m);
		spool_close(&sp);
	}
	close(fd);
}

/* A message of which the beginning is kept is judged as a whole. */
static void test_keep_first(void **state)
{
	static const char text[] = "Subject: s\r\n\r\none\r\ntwo\r\n";
	enum { HEADER = 14, ALL = sizeof(text) - 1 };
	int fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct err err = ERR_INIT;
	unsigned char whole[DIGEST];
	struct spool *sp;

	(void)state;
	digest_of(text, ALL, whole);
	spool_open(&sp, fd, 1024 * 1024);
	for (size_t first = 0; first <= ALL; first++) {
		size_t kept = HEADER + first < ALL ? HEADER + first : ALL;

		for (size_t cut = 0; cut <= ALL; cut++) {
			struct message_maker *mk;
			struct message *m;
			const char *p;
			size_t n;

			message_begin(&mk, sp);
			message_keep_first(mk, first);
			message_put(mk, text, cut);
			assert_int_equal(message_came(mk), cut);
			message_put(mk, text + cut, ALL - cut);
			assert_int_equal(message_end(&mk, &m, &err), ST_OK);
			assert_int_equal(m->facts.size, ALL);
			assert_memory_equal(m->facts.sha256, whole, DIGEST);
			assert_string_equal(m->facts.subject, "s");
			assert_int_equal(body_size(m->body), kept);
			assert_int_equal(
				body_read(m->body, 0, NULL, 0, &p, &n, &err), ST_OK);
			assert_memory_equal(p, text, kept);
			message_free(&m);
		}
	}
	/* The next one is kept whole. */
	{
		struct message_maker *mk;
		struct message *m;

		message_begin(&mk, sp);
		message_put(mk, text, ALL);
		assert_int_equal(message_end(&mk, &m, &err), ST_OK);
		assert_int_equal(body_size(m->body), ALL);
		message_free(&m);
	}
	spool_close(&sp);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_anomalies),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_msgid),
		cmocka_unit_test(test_has_msgid),
		cmocka_unit_test(test_header_cut),
		cmocka_unit_test(test_header_cut_exact),
		cmocka_unit_test(test_slow_feed),
		cmocka_unit_test(test_given_up),
		cmocka_unit_test(test_field),
		cmocka_unit_test(test_keep_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
