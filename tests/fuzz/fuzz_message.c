/*
 * fuzz_message.c: one message, from the dot reader to the form that goes up.
 *
 * The input is cut in two ways; what comes out must not depend on it, and must
 * be what slow and simple code makes of it.
 */
#include "fuzz.h"

#include <popferry/mail.h>
#include <popferry/mem.h>

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL = 4096, LARGE = 1024 * 1024, PIECE = 64 };

/* The next length of a piece: none, one, few or many bytes. */
static size_t next_cut(uint32_t *seed)
{
	static const unsigned most[] = { 1, 2, 5, 40, 400, 5000, 40000, 1 };
	uint32_t x = *seed = *seed * 1664525 + 1013904223;

	return (x >> 8) % (most[x >> 29] + 1);
}

/* ---- slow and simple ---- */

/* What a POP3 server means by these bytes; *ended as dot_feed()'s done. */
static size_t slow_dots(char *out, const char *p, size_t n, bool *ended, size_t *used)
{
	size_t i = 0, o = 0;
	bool start = true;

	*ended = false;
	while (i < n) {
		if (start && n - i >= 3 && memcmp(p + i, ".\r\n", 3) == 0) {
			*ended = true;
			*used = i + 3;
			return o;
		}
		if (start && p[i] == '.') {
			/* Held back while it is not known what follows. */
			if (i + 1 == n || (i + 2 == n && p[i + 1] == '\r'))
				break;
			i++;
		}
		start = i && p[i] == '\n' && p[i - 1] == '\r';
		out[o++] = p[i++];
	}
	*used = n;
	return o;
}

static size_t slow_wire(char *out, const char *p, size_t n)
{
	size_t i, o = 0;

	for (i = 0; i < n; i++) {
		if (p[i] == '\n' && (!o || out[o - 1] != '\r'))
			out[o++] = '\r';
		out[o++] = p[i] ? p[i] : '\x80';
	}
	if (!o || out[o - 1] != '\n') {
		out[o++] = '\r';
		out[o++] = '\n';
	}
	return o;
}

static unsigned slow_anomalies(const char *p, size_t n)
{
	unsigned bits = 0;
	size_t i, half, line = 0;

	for (i = 0; i < n; i++) {
		bool cr = i && p[i - 1] == '\r';

		bits |= p[i] ? 0 : AN_NUL;
		bits |= p[i] == '\n' && !cr ? AN_BARE_LF : 0;
		bits |= p[i] == '\r' && (i + 1 == n || p[i + 1] != '\n') ? AN_BARE_CR
									 : 0;
		if (p[i] == '\n')
			line -= cr;
		else
			line++;
		/* A CR may still turn out to be half of the line's end. */
		half = p[i] == '\r' && i + 1 < n && p[i + 1] == '\n';
		if (line - half > 998)
			bits |= AN_LONG_LINE;
		if (p[i] == '\n')
			line = 0;
	}
	if (n < 2 || memcmp(p + n - 2, "\r\n", 2) != 0)
		bits |= AN_NO_FINAL_EOL;
	return bits;
}

static void sha256(unsigned char out[DIGEST], const void *p, size_t n)
{
	must(EVP_Digest(p, n, out, NULL, EVP_sha256(), NULL) == 1);
}

/* ---- the two ways ---- */

struct taken {
	char *p;
	size_t n;
	struct message_maker *mk;
};

static void take(void *ctx, const char *p, size_t n)
{
	struct taken *t = ctx;

	must(n > 0);
	memcpy(t->p + t->n, p, n);
	t->n += n;
	message_put(t->mk, p, n);
}

/* Through the dot reader, in pieces. */
static struct message *by_dots(
	struct spool *sp, const struct input *in, uint32_t seed, struct taken *t)
{
	struct err err = ERR_INIT;
	struct message *m = NULL;
	struct dot d = { 0 };
	size_t at = 0, k, used, want;
	bool done = false, ended;
	char *slow = xmalloc(in->n + 1);

	t->p = xmalloc(in->n + 1);
	message_begin(&t->mk, sp);
	while (at < in->n && !done) {
		k = next_cut(&seed);
		k = k < in->n - at ? k : in->n - at;
		used = dot_feed(&d, in->p + at, k, &done, take, t);
		must(used <= k && (done || used == k));
		at += used;
	}
	want = slow_dots(slow, in->p, in->n, &ended, &used);
	must(done == ended && at == used && t->n == want);
	must(memcmp(t->p, slow, want) == 0);
	free(slow);
	must(message_end(&t->mk, &m, &err) == ST_OK);
	return m;
}

static void facts_of(struct facts *f, const char *p, size_t n, uint32_t *seed)
{
	struct facts_maker *fm;
	size_t at, k;

	facts_begin(&fm);
	for (at = 0; at < n; at += k) {
		k = seed ? next_cut(seed) : n;
		k = k < n - at ? k : n - at;
		facts_put(fm, p + at, k);
	}
	facts_end(&fm, f);
}

static void same_text(const char *a, const char *b)
{
	must(!a == !b && (!a || (strcmp(a, b) == 0 && strlen(a) <= FACT_MAX)));
}

static void same_when(const struct when *a, const struct when *b)
{
	must(a->known == b->known && a->utc == b->utc && a->zone == b->zone);
}

static void same_facts(const struct facts *a, const struct facts *b)
{
	must(a->size == b->size && a->wire == b->wire);
	must(memcmp(a->sha256, b->sha256, DIGEST) == 0);
	must(memcmp(a->exact, b->exact, DIGEST) == 0);
	must(memcmp(a->body, b->body, DIGEST) == 0);
	must(memcmp(a->loose, b->loose, DIGEST) == 0);
	must(memcmp(a->ident, b->ident, DIGEST) == 0);
	must(memcmp(a->msgid, b->msgid, DIGEST) == 0);
	must(a->has_msgid == b->has_msgid && a->anomalies == b->anomalies);
	must(a->header_size == b->header_size);
	same_text(a->message_id, b->message_id);
	same_text(a->date, b->date);
	same_text(a->received, b->received);
	same_text(a->from, b->from);
	same_text(a->to, b->to);
	same_text(a->cc, b->cc);
	same_text(a->subject, b->subject);
	same_text(a->list_id, b->list_id);
	same_text(a->status, b->status);
	same_text(a->x_status, b->x_status);
	same_when(&a->date_when, &b->date_when);
	same_when(&a->received_when, &b->received_when);
}

/* ---- what is said of it ---- */

static void check_facts(const struct facts *f, const char *p, size_t n)
{
	unsigned seen = AN_NUL | AN_BARE_LF | AN_BARE_CR | AN_LONG_LINE |
		AN_NO_FINAL_EOL;
	unsigned char sha[DIGEST];
	char names[160];

	sha256(sha, p, n);
	must(memcmp(sha, f->sha256, DIGEST) == 0);
	must(f->size == n && f->header_size <= n && f->header_size <= HEADER_MAX);
	must((f->anomalies & seen) == slow_anomalies(p, n));
	must(!(f->anomalies & AN_NO_MSGID) == (f->message_id != NULL));
	must(!(f->anomalies & AN_NO_DATE) == f->date_when.known);
	must(!f->has_msgid || f->message_id);
	must(is_clean(anomaly_names(f->anomalies, names), strlen(names)));
}

static void check_wire(const struct message *m, const char *p, size_t n, uint32_t seed)
{
	size_t want_n, got = 0, k, cap = 2 + next_cut(&seed);
	char *want = xmalloc(2 * n + 2), *out = xmalloc(cap);
	unsigned char sha[DIGEST], told[DIGEST];
	struct err err = ERR_INIT;
	struct wire w;
	const char *piece;

	want_n = slow_wire(want, p, n);
	must(m->facts.wire == want_n);
	wire_begin(&w, m);
	for (;;) {
		must(wire_next(&w, out, cap, &piece, &k, &err) == ST_OK);
		if (!k)
			break;
		must(k <= want_n - got && memcmp(want + got, piece, k) == 0);
		got += k;
	}
	must(got == want_n);
	sha256(sha, want, want_n);
	must(wire_digest(m, told, &err) == ST_OK && memcmp(sha, told, DIGEST) == 0);
	free(want);
	free(out);
}

static void check_fields(const struct message *m)
{
	static const char *const names[] = { "Subject", "from", "X-A", "Received" };
	struct buf b = BUF_INIT(FACT_MAX), text = BUF_INIT(LARGE);
	unsigned n;
	size_t i;

	for (i = 0; i < N_ELEMENTS(names); i++)
		for (n = 0; n < 3 && message_field(m, names[i], n, &b); n++) {
			must(b.n <= FACT_MAX && !memchr(buf_str(&b), '\0', b.n));
			if (i == 0 && n == 0)
				same_text(m->facts.subject, buf_str(&b));
			mime_decode(buf_str(&b), b.n, &text);
			buf_clear(&b);
			buf_clear(&text);
		}
	must((i = message_field(m, "Subject", 0, &b)) == (m->facts.subject != NULL));
	buf_free(&b);
	buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { (const char *)data, size };
	uint32_t seed = input_byte(&in);
	struct taken t = { 0 };
	struct facts whole, cut;
	struct message *m;
	struct spool *sp;

	/* Every other spool is so small that bodies go to files. */
	spool_open(&sp, scratch_fd(), seed & 1 ? SMALL : LARGE);
	m = by_dots(sp, &in, seed, &t);
	facts_of(&whole, t.p, t.n, NULL);
	facts_of(&cut, t.p, t.n, &seed);
	same_facts(&m->facts, &whole);
	same_facts(&cut, &whole);
	check_facts(&whole, t.p, t.n);
	check_wire(m, t.p, t.n, seed);
	check_fields(m);
	facts_release(&whole);
	facts_release(&cut);
	message_free(&m);
	spool_close(&sp);
	free(t.p);
	return 0;
}
