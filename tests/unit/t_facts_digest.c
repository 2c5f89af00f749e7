/* t_facts_digest.c: the digests of a message against a slow reference, and which are
 * equal. */
#include "facts_kit.h"

#include <popferry/buf.h>
#include <popferry/text.h>

#include <openssl/evp.h>

/* ---- the slow reference for the digests ---- */

struct line {
	size_t start, text_n, end;
	bool ended;
};

static size_t split(const char *p, size_t n, struct line *out)
{
	size_t lines = 0, i = 0, run;

	while (i < n) {
		struct line *l = &out[lines++];

		l->start = i;
		while (i < n && p[i] != '\r' && p[i] != '\n')
			i++;
		l->text_n = i - l->start;
		for (run = i; run < n && p[run] == '\r';)
			run++;
		l->ended = i < n;
		if (run < n && p[run] == '\n')
			i = run + 1;
		else if (i < n)
			i++;
		l->end = i;
	}
	return lines;
}

static bool is_field(const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && p[i] > ' ' && p[i] < 0x7f && p[i] != ':')
		i++;
	if (i == 0)
		return false;
	while (i < n && (p[i] == ' ' || p[i] == '\t'))
		i++;
	return i < n && p[i] == ':';
}

static bool is_from(const char *p, size_t n)
{
	return n > 5 && memcmp(p, "From ", 5) == 0 && !is_field(p, n);
}

static bool is_dropped(const char *p, size_t n)
{
	static const char *const names[] = { "Content-Length", "Status", "X-Status",
		"X-IMAP", "X-IMAPbase", "X-Keywords", "X-Message-Flag", "X-UID",
		"X-UIDL", "X-Yahoo-Newman-Property", "Return-Path", "X-POP3-Rcpt" };

	for (size_t i = 0; i < N_ELEMENTS(names); i++) {
		size_t k = strlen(names[i]);

		if (n > k && text_same_n(p, names[i], k) && strchr(": \t", p[k]))
			return true;
	}
	return false;
}

static size_t separator(const char *p, const struct line *l, size_t lines)
{
	size_t i, blank = lines;
	bool lead = true;

	for (i = 0; i < lines; i++) {
		const char *t = p + l[i].start;
		bool empty = l[i].text_n == 0;

		if (i == 0 && is_from(t, l[i].text_n))
			continue;
		if (empty && !lead)
			return i;
		if (empty && blank == lines)
			blank = i;
		if (!empty && lead) {
			if (blank < lines && !is_field(t, l[i].text_n))
				return blank;
			lead = false;
		}
	}
	return lead ? blank : lines;
}

static void canonical(const char *p, size_t n, struct buf *out)
{
	struct line *l = xcalloc(n + 1, sizeof(*l));
	size_t lines = split(p, n, l);

	for (size_t i = 0; i < lines; i++) {
		buf_add(out, p + l[i].start, l[i].text_n);
		if (l[i].ended)
			buf_addc(out, '\n');
	}
	free(l);
}

static void without_cr(const char *p, size_t n, struct buf *out)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != '\r')
			buf_addc(out, p[i] ? p[i] : '\x80');
}

static void digest(struct buf *b, unsigned char out[DIGEST])
{
	while (b->n && b->p[b->n - 1] == '\n')
		b->n--;
	EVP_Digest(buf_str(b), b->n, out, NULL, EVP_sha256(), NULL);
}

static void reference(const char *p, size_t n, unsigned char exact[DIGEST],
	unsigned char body[DIGEST], unsigned char loose[DIGEST])
{
	enum { MAX = 1 << 24 };
	struct buf head = BUF_INIT(MAX), text = BUF_INIT(MAX), stored = BUF_INIT(MAX);
	struct line *l = xcalloc(n + 1, sizeof(*l));
	size_t lines = split(p, n, l), sep = separator(p, l, lines), i, start = n;
	unsigned char both[2 * DIGEST];
	bool keep = true, junk = false, open = false;

	for (i = 0; i < lines && i <= sep; i++) {
		const char *t = p + l[i].start;
		size_t k = l[i].text_n;

		/* A line that starts with a blank goes the way of the one before. */
		if (!open || !k || !strchr(" \t", *t) || *t == '\0') {
			bool from = i == 0 && is_from(t, k);

			junk = k && !from && !is_field(t, k);
			keep = !from && !(is_field(t, k) && is_dropped(t, k));
			open = k && !from;
		}
		if (keep)
			canonical(t, l[i].end - l[i].start, &head);
		if (junk) {
			canonical(t, l[i].end - l[i].start, &text);
			without_cr(t, l[i].end - l[i].start, &stored);
		}
	}
	if (sep < lines)
		start = l[sep].end;
	canonical(p + start, n - start, &text);
	without_cr(p + start, n - start, &stored);
	digest(&text, body);
	digest(&stored, loose);
	digest(&head, both);
	memcpy(both + DIGEST, body, DIGEST);
	EVP_Digest(both, sizeof(both), exact, NULL, EVP_sha256(), NULL);
	free(l);
	buf_free(&head);
	buf_free(&text);
	buf_free(&stored);
}

/* What is odd about the bytes alone, and what becomes of them by IMAP. */
static unsigned slow_bits(const char *p, size_t n, uint64_t *wire)
{
	unsigned bits = n > 1 && p[n - 2] == '\r' && p[n - 1] == '\n'
		? 0
		: (unsigned)AN_NO_FINAL_EOL;
	size_t i, line = 0;

	*wire = n + (n && p[n - 1] == '\n' ? 0 : 2);
	for (i = 0; i < n; i++) {
		bool crlf = p[i] == '\n' && i && p[i - 1] == '\r';

		bits |= p[i] ? 0 : AN_NUL;
		if (p[i] == '\r' && (i + 1 == n || p[i + 1] != '\n'))
			bits |= AN_BARE_CR;
		if (p[i] == '\n' && !crlf) {
			bits |= AN_BARE_LF;
			++*wire;
		}
		if (p[i] == '\n')
			line = 0;
		else if (p[i] != '\r' || i + 1 == n || p[i + 1] != '\n')
			bits |= ++line > 998 ? AN_LONG_LINE : 0;
	}
	return bits;
}

static void check_bits(const char *p, size_t n, const struct facts *f)
{
	enum {
		SEEN = AN_NUL | AN_BARE_LF | AN_BARE_CR | AN_NO_FINAL_EOL | AN_LONG_LINE
	};
	uint64_t wire;

	assert_int_equal(f->anomalies & SEEN, slow_bits(p, n, &wire));
	assert_int_equal(f->size, n);
	assert_int_equal(f->wire, wire);
}

static void check_reference(const char *p, size_t n, const struct facts *f)
{
	unsigned char exact[DIGEST], body[DIGEST], loose[DIGEST], raw[DIGEST];
	char clean[1024];

	reference(p, n, exact, body, loose);
	EVP_Digest(p, n, raw, NULL, EVP_sha256(), NULL);
	if (memcmp(f->exact, exact, DIGEST))
		fail_msg("exact: %s", text_clean(clean, sizeof(clean), p, n));
	if (memcmp(f->body, body, DIGEST))
		fail_msg("body: %s", text_clean(clean, sizeof(clean), p, n));
	if (memcmp(f->loose, loose, DIGEST))
		fail_msg("loose: %s", text_clean(clean, sizeof(clean), p, n));
	assert_memory_equal(f->sha256, raw, DIGEST);
	check_bits(p, n, f);
}

/* Few characters, so that every combination comes; the header in pieces. */
static void test_random(void **state)
{
	static const struct {
		const char *p;
		size_t n;
	} bits[] = { { B("a") }, { B("\r") }, { B("\n") }, { B("\0") }, { B(".") },
		{ B("\r\n") }, { B(" ") }, { B("b: c") }, { B("X-UID: 1") },
		{ B("status :x") }, { B("From x") }, { B("From : x") }, { B("a") },
		{ B("\r\r\n") }, { B(":") }, { B("Subject: y") } };
	char in[256];

	(void)state;
	srand(29);
	for (int round = 0; round < 40000; round++) {
		size_t kinds = round % 2 ? 5 : N_ELEMENTS(bits), n = 0;
		struct facts f, g;

		for (int k = rand() % 20; k > 0; k--) {
			size_t b = (size_t)rand() % kinds;

			memcpy(in + n, bits[b].p, bits[b].n);
			n += bits[b].n;
		}
		f = facts_of(in, n);
		check_reference(in, n, &f);
		g = facts_cut(in, n, (size_t)rand() % (n + 1), (size_t)rand() % 9 + 1);
		if (!same_facts(&f, &g))
			fail_msg("cut: round %d", round);
		facts_release(&f);
		facts_release(&g);
	}
}

/* ---- what goes with an equal exact digest ---- */

struct identity {
	unsigned char exact[DIGEST], msgid[DIGEST];
	bool has_msgid;
	char text[96];
};

static int by_exact(const void *ap, const void *bp)
{
	return memcmp(ap, bp, DIGEST);
}

/* The journal relies on it: schema.c, version 5. */
static void test_exact_tells_msgid(void **state)
{
	enum { MANY = 60000, PIECES = 7 };
	static const struct {
		const char *p;
		size_t n;
	} bits[] = { { B("Message-ID: <a>") }, { B("message-id :b") },
		{ B("Message-ID:") }, { B("\n") }, { B("\r\n") }, { B("\r") },
		{ B("\r\r\n") }, { B("\n") }, { B("\r\n") }, { B("\r") }, { B(" <c>") },
		{ B("\t") }, { B(" ") }, { B("Status: R\n") }, { B("X-UID: 1\r\n") },
		{ B("From x\n") }, { B("From : x\r") }, { B("\0") }, { B("junk") } };
	struct identity *v = xcalloc(MANY, sizeof(*v));
	size_t equal = 0, with = 0;

	(void)state;
	srand(31);
	for (size_t i = 0; i < MANY; i++) {
		char in[PIECES * 16];
		size_t n = 0;
		struct facts f;

		for (int k = rand() % (PIECES + 1); k > 0; k--) {
			size_t b = (size_t)rand() % N_ELEMENTS(bits);

			memcpy(in + n, bits[b].p, bits[b].n);
			n += bits[b].n;
		}
		f = facts_of(in, n);
		memcpy(v[i].exact, f.exact, DIGEST);
		v[i].has_msgid = f.has_msgid;
		if (f.has_msgid)
			memcpy(v[i].msgid, f.msgid, DIGEST);
		text_clean(v[i].text, sizeof(v[i].text), in, n);
		facts_release(&f);
	}
	qsort(v, MANY, sizeof(*v), by_exact);
	for (size_t i = 1; i < MANY; i++) {
		if (by_exact(&v[i - 1], &v[i]) != 0)
			continue;
		equal++;
		with += v[i].has_msgid && strcmp(v[i - 1].text, v[i].text) != 0;
		if (v[i - 1].has_msgid != v[i].has_msgid ||
			memcmp(v[i - 1].msgid, v[i].msgid, DIGEST) != 0)
			fail_msg("%s\n%s", v[i - 1].text, v[i].text);
	}
	assert_true(equal > MANY / 10 && with > MANY / 50);
	free(v);
}

/* Lines about as long as they may be, and one oddity at any place of a block. */
static void test_random_lines(void **state)
{
	static const struct {
		const char *p;
		size_t n;
	} odd[] = { { B("") }, { B("") }, { B("\0") }, { B("\r") }, { B("\n") },
		{ B("\r\r\n") }, { B("\n\r") } };
	enum { MAX = 1 << 16 };

	(void)state;
	srand(37);
	for (int round = 0; round < 3000; round++) {
		struct buf in = BUF_INIT(MAX);
		int lines = rand() % 5, at = rand() % 5;
		struct facts f, g;

		if (round % 2)
			buf_adds(&in, "a: b\r\n\r\n");
		for (int i = 0; i <= lines; i++) {
			size_t o = (size_t)rand() % N_ELEMENTS(odd);
			int length = rand() % 2 ? 994 + rand() % 10 : rand() % 200;
			int there = i == at ? rand() % (length + 1) : -1;

			for (int k = 0; k < length; k++) {
				if (k == there)
					buf_add(&in, odd[o].p, odd[o].n);
				buf_addc(&in, 'x');
			}
			if (i < lines || round % 3)
				buf_adds(&in, "\r\n");
		}
		f = facts_of(buf_str(&in), in.n);
		check_reference(buf_str(&in), in.n, &f);
		g = facts_cut(buf_str(&in), in.n, (size_t)rand() % (in.n + 1),
			(size_t)rand() % 300 + 1);
		assert_true(same_facts(&f, &g));
		facts_release(&f);
		facts_release(&g);
		buf_free(&in);
	}
}

/* More line ends than are kept in a block, before a field that does not count. */
static void test_blank_lines(void **state)
{
	static const int counts[] = { 1, 8000, 9000, 17400, 17410, 40000, 400000 };

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(counts); i++) {
		for (int last = 0; last < 2; last++) {
			struct buf in = BUF_INIT(1 << 20);
			struct facts f;

			for (int k = 0; k < counts[i]; k++)
				buf_adds(&in, "\r\n");
			buf_adds(&in, last ? "X-UID: 1\r\n" : "a: b\r\nX-UID: 1\r\n");
			buf_adds(&in, "\r\nbody");
			for (int k = 0; k < counts[i]; k++)
				buf_adds(&in, "\n");
			buf_adds(&in, last ? "" : "more\r\n\r\n");
			f = facts_of(in.p, in.n);
			check_reference(in.p, in.n, &f);
			facts_release(&f);
			buf_free(&in);
		}
	}
}

/* Large enough to cross every block, with oddities now and then. */
static void test_random_large(void **state)
{
	enum { MAX = 1 << 22 };

	(void)state;
	srand(31);
	for (int round = 0; round < 24; round++) {
		struct buf in = BUF_INIT(MAX);
		size_t want = (size_t)rand() % 120000;
		int odd = round % 3 ? 500 : 1 << 30;
		struct facts f, g;

		buf_adds(&in, "From: a\r\nX-UID: 7\r\n 8\r\nSubject: b\r\n\r\n");
		while (in.n < want) {
			for (int k = rand() % 4 ? rand() % 80 : 0; k > 0; k--)
				buf_addc(&in, (char)('a' + rand() % 26));
			buf_adds(&in, rand() % odd ? "\r\n" : "\r");
			if (rand() % odd == 0)
				buf_add(&in, "\0\n\r", 3);
			if (rand() % 300 == 0)
				for (int k = rand() % 20000; k > 0; k--)
					buf_adds(&in, "\r\n");
		}
		f = facts_of(in.p, in.n);
		check_reference(in.p, in.n, &f);
		g = facts_cut(
			in.p, in.n, (size_t)rand() % in.n, (size_t)rand() % 20000 + 1);
		assert_true(same_facts(&f, &g));
		facts_release(&f);
		facts_release(&g);
		buf_free(&in);
	}
}

/* ---- which messages are equal, and in what ---- */

static void test_equal(void **state)
{
	enum { EXACT = 1, BODY = 2, LOOSE = 4, IDENT = 8, MSGID = 16, ALL = 31 };
	static const struct {
		const char *name, *a;
		size_t an;
		const char *b;
		size_t bn;
		unsigned equal;
	} rows[] = {
		{ "LF", B("A: b\r\n\r\nc\r\n"), B("A: b\n\nc\n"), ALL },
		{ "CR", B("A: b\r\n\r\nc\r\n"), B("A: b\r\rc\r"), ALL },
		{ "CR CR LF", B("A: b\r\n\r\nc\r\n"), B("A: b\r\r\n\r\r\nc\r\r\n"),
			ALL },
		{ "lone CR in the body", B("\r\na\r\nb"), B("\r\na\rb"), ALL - LOOSE },
		{ "lone CR deleted", B("\r\nab"), B("\r\na\rb"), ALL - EXACT - BODY },
		{ "NUL as 0x80", B("\r\na\0b"),
			B("\r\na\x80"
			  "b"),
			ALL - EXACT - BODY },
		{ "end", B("A: b\r\n\r\nc"), B("A: b\r\n\r\nc\r\n\r\n\n\r\n"), ALL },
		{ "blanks at the end count", B("\r\nc"), B("\r\nc\r\n "),
			IDENT | MSGID },
		{ "blank line inside counts", B("\r\nc\r\nd"), B("\r\nc\r\n\r\nd"),
			IDENT | MSGID },
		{ "blank line in front counts", B("A: b\n\nc"), B("A: b\n\n\nc"),
			IDENT | MSGID },
		{ "nothing", B(""), B("\r\n\r\n"), ALL },
		{ "header only", B("A: b"), B("A: b\r\n\r\n\r\n"), ALL },
		{ "From line", B("From x Mon\nA: b\n\nc"), B("A: b\n\nc"), ALL },
		{ ">From line counts", B(">From x Mon\nA: b\n\nc"), B("A: b\n\nc"),
			IDENT | MSGID },
		{ "From field counts", B("From : x\nA: b\n\nc"), B("A: b\n\nc"),
			ALL - EXACT - IDENT },
		{ "injected", B("A: b\n\nc"),
			B("status: RO\nA: b\nX-UIDL : x\n y\n\t\n z\nContent-Length: 1\n"
			  "X-Status:\nX-IMAP: 1\nX-IMAPbase: 1\nX-Keywords: a\n"
			  "X-Message-Flag: a\nX-UID: 1\nX-Yahoo-Newman-Property: a\n"
			  "Return-Path: <a>\nX-POP3-Rcpt: a\n\nc"),
			ALL },
		{ "not quite injected", B("A: b\n\nc"), B("A: b\nX-UIDLE: 1\n\nc"),
			ALL - EXACT },
		{ "injected in the body counts", B("A: b\n\nc"),
			B("A: b\n\nStatus: RO\nc"), IDENT | MSGID },
		{ "header order counts", B("A: b\nC: d\n\n"), B("C: d\nA: b\n\n"),
			ALL - EXACT },
		{ "Received", B("A: b\n\nc"), B("Received: x\nA: b\n\nc"),
			ALL - EXACT },
		{ "no blank line", B("A: b\nhello"), B("A: b\nworld"), IDENT | MSGID },
		{ "no blank line, then one", B("A: b\nhello\n\nx"), B("A: b\nhi\n\nx"),
			IDENT | MSGID },
		{ "where header and body meet", B("A: b\n\nc: d"), B("A: b\nc: d"),
			IDENT | MSGID },
		{ "folding of ident", B("Subject: a b\nTo: x,\n y\n\n"),
			B("Subject:\n a  b\nTo: x, y\n\n"), ALL - EXACT },
		{ "8-bit of ident", B("Subject: caf\xe9 x\n\n"),
			B("Subject: caf\xc3\xa9 x\n\n"), ALL - EXACT },
		{ "? of ident", B("Subject: a\xff? \x01?b\n\n"), B("Subject: a?b\n\n"),
			ALL - EXACT },
		{ "case of ident", B("Subject: a\n\n"), B("Subject: A\n\n"),
			ALL - EXACT - IDENT },
		{ "order of ident", B("To: a\nFrom: b\n\n"), B("from: b\ntO: a\n\n"),
			ALL - EXACT },
		{ "place of ident", B("To: a\n\n"), B("Cc: a\n\n"),
			ALL - EXACT - IDENT },
		{ "first of ident", B("To: a\nTo: b\n\n"), B("To: a\nTo: c\n\n"),
			ALL - EXACT },
		{ "List-Id of ident", B("List-Id: a\n\n"), B("List-Id: b\n\n"),
			ALL - EXACT - IDENT },
		{ "Date of ident", B("Date: a\n\n"), B("Date: b\n\n"),
			ALL - EXACT - IDENT },
		{ "Message-ID", B("Message-ID: <a>\n\n"), B("Message-ID: <b>\n\n"),
			ALL - EXACT - MSGID },
		{ "same Message-ID", B("Message-ID: <a>\n\n"),
			B("MESSAGE-ID:\n (c) <\ta >\n\n"), ALL - EXACT },
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
		struct facts a = facts_of(rows[i].a, rows[i].an);
		struct facts b = facts_of(rows[i].b, rows[i].bn);
		unsigned equal = 0;

		equal |= memcmp(a.exact, b.exact, DIGEST) ? 0 : EXACT;
		equal |= memcmp(a.body, b.body, DIGEST) ? 0 : BODY;
		equal |= memcmp(a.loose, b.loose, DIGEST) ? 0 : LOOSE;
		equal |= memcmp(a.ident, b.ident, DIGEST) ? 0 : IDENT;
		equal |= memcmp(a.msgid, b.msgid, DIGEST) ? 0 : MSGID;
		if (equal != rows[i].equal)
			fail_msg("%s: %x, not %x", rows[i].name, equal, rows[i].equal);
		check_reference(rows[i].a, rows[i].an, &a);
		check_reference(rows[i].b, rows[i].bn, &b);
		facts_release(&a);
		facts_release(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_exact_tells_msgid),
		cmocka_unit_test(test_random_lines),
		cmocka_unit_test(test_blank_lines),
		cmocka_unit_test(test_random_large),
		cmocka_unit_test(test_equal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
