/* t_facts.c: header facts, oddities, and digests against a slow reference. */
#include <popferry/buf.h>
#include <popferry/mail.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <fcntl.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define B(s) s, sizeof(s) - 1

/* The facts of p, given in pieces of at most step bytes, the first of cut. */
static struct facts facts_cut(const char *p, size_t n, size_t cut, size_t step)
{
	struct facts_maker *fm;
	struct facts f;
	size_t i = 0, k;

	facts_begin(&fm);
	while (i < n) {
		char *piece;

		k = i < cut ? cut - i : step;
		if (k > n - i)
			k = n - i;
		/* Exactly so large, for the sanitizer. */
		piece = xmalloc(k);
		memcpy(piece, p + i, k);
		facts_put(fm, piece, k);
		free(piece);
		i += k;
	}
	facts_end(&fm, &f);
	assert_null(fm);
	return f;
}

static struct facts facts_of(const char *p, size_t n)
{
	return facts_cut(p, n, n, 1);
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_facts(const struct facts *a, const struct facts *b)
{
	return a->size == b->size && a->wire == b->wire &&
		!memcmp(a->sha256, b->sha256, DIGEST) &&
		!memcmp(a->exact, b->exact, DIGEST) &&
		!memcmp(a->body, b->body, DIGEST) &&
		!memcmp(a->loose, b->loose, DIGEST) &&
		!memcmp(a->ident, b->ident, DIGEST) &&
		!memcmp(a->msgid, b->msgid, DIGEST) && a->has_msgid == b->has_msgid &&
		a->anomalies == b->anomalies && a->header_size == b->header_size &&
		same_text(a->message_id, b->message_id) &&
		same_text(a->date, b->date) && same_text(a->received, b->received) &&
		same_text(a->from, b->from) && same_text(a->to, b->to) &&
		same_text(a->cc, b->cc) && same_text(a->subject, b->subject) &&
		same_text(a->list_id, b->list_id) && same_text(a->status, b->status) &&
		same_text(a->x_status, b->x_status) &&
		a->date_when.known == b->date_when.known &&
		a->date_when.utc == b->date_when.utc &&
		a->received_when.known == b->received_when.known &&
		a->received_when.utc == b->received_when.utc;
}

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_random_lines),
		cmocka_unit_test(test_blank_lines),
		cmocka_unit_test(test_random_large),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_anomalies),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_msgid),
		cmocka_unit_test(test_has_msgid),
		cmocka_unit_test(test_header_cut),
		cmocka_unit_test(test_header_cut_exact),
		cmocka_unit_test(test_slow_feed),
		cmocka_unit_test(test_given_up),
		cmocka_unit_test(test_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
