/*
 * facts.c: everything the engine wants to know of a message, in one pass.
 *
 * Bytes go through four things, in slices that stay in the processor's cache:
 * the digest of all bytes, the tally of oddities, the header until it is
 * complete, and the canonical digests (canon.h).
 *
 * exact is SHA-256 over the canonical digest of the kept header lines and the
 * body's, so that the body is hashed once for both. A header line that is no
 * field counts as body too: whoever forgot the blank line meant it so, and
 * otherwise two such messages would have equal, empty bodies.
 */
#include <popferry/mail.h>
#include <popferry/mem.h>

#include "canon.h"
#include "header.h"
#include "sha.h"
#include "store.h"
#include "tally.h"

#include <stdlib.h>
#include <string.h>

enum { SLICE = 16 * 1024, HEADER_STEP = 4096, MSGID_LONG = 998 };

struct facts_maker {
	struct buf texts, id; /* kept from one message to the next */
	struct sha raw, spare;
	struct tally tally;
	struct header_scan scan;
	struct buf header; /* until in_body */
	bool in_body;
	unsigned char head[DIGEST];
	struct facts f;
	struct canon canon;
};

#define NAME(s) s, sizeof(s) - 1
#define TEXT(f) offsetof(struct facts, f)

/*
 * The first N_FIELDS are kept as text, and the first IDENT_FIELDS make up
 * ident. Stores add the injected ones, and change them later (quirk Q35).
 */
enum { DATE = 1, IDENT_FIELDS = 6, RECEIVED = 6, N_FIELDS = 15 };
enum { TEXTS_MAX = (N_FIELDS + 1) * (FACT_MAX + 1) };
static const struct {
	const char *name;
	size_t name_n;
	size_t text;
	bool injected;
} fields[] = {
	{ NAME("From"), TEXT(from), false },
	{ NAME("Date"), TEXT(date), false },
	{ NAME("Subject"), TEXT(subject), false },
	{ NAME("To"), TEXT(to), false },
	{ NAME("Cc"), TEXT(cc), false },
	{ NAME("List-Id"), TEXT(list_id), false },
	{ NAME("Received"), TEXT(received), false },
	{ NAME("Status"), TEXT(status), true },
	{ NAME("X-Status"), TEXT(x_status), true },
	{ NAME("Bcc"), TEXT(bcc), false },
	{ NAME("Sender"), TEXT(sender), false },
	{ NAME("Reply-To"), TEXT(reply_to), false },
	{ NAME("In-Reply-To"), TEXT(in_reply_to), false },
	{ NAME("Content-Type"), TEXT(content_type), false },
	{ NAME("Content-Disposition"), TEXT(disposition), false },
	{ NAME("Content-Length"), 0, true },
	{ NAME("X-IMAP"), 0, true },
	{ NAME("X-IMAPbase"), 0, true },
	{ NAME("X-Keywords"), 0, true },
	{ NAME("X-Message-Flag"), 0, true },
	{ NAME("X-UID"), 0, true },
	{ NAME("X-UIDL"), 0, true },
	{ NAME("X-Yahoo-Newman-Property"), 0, true },
	{ NAME("Return-Path"), 0, true },
	{ NAME("X-POP3-Rcpt"), 0, true },
};

static char **text_at(struct facts *f, size_t field)
{
	return (char **)(void *)((char *)f + fields[field].text);
}

/* Adds a value in the form that survives what servers do to headers, and an LF. */
static void add_folded(struct sha *s, const char *p, size_t n)
{
	char out[512];
	signed char last = 0; /* '?': of a run */
	size_t i, o = 0;

	for (i = 0; i < n; i++) {
		signed char c = (signed char)p[i];

		/* 8-bit bytes are below 0. Most are none of this. */
		if (c <= ' ' || c == '?' || c == 0x7f) {
			if (c == ' ' || c == '\t' || c == '\r' || c == '\n' ||
				last == '?')
				continue;
			c = '?';
		}
		last = c;
		out[o++] = (char)c;
		if (o == sizeof(out)) {
			sha_add(s, out, o);
			o = 0;
		}
	}
	out[o++] = '\n';
	sha_add(s, out, o);
}

/* Keeps the first real Message-ID; another that differs spoils has_msgid. */
static void take_msgid(struct facts_maker *fm, const struct item *it)
{
	struct buf other = BUF_INIT(HEADER_MAX);

	if (!fm->id.n) {
		if (msgid_normal(it->value, it->value_n, &fm->id))
			fm->f.has_msgid = fm->id.n <= MSGID_LONG;
		return;
	}
	if (msgid_normal(it->value, it->value_n, &other) &&
		(other.n != fm->id.n || memcmp(other.p, fm->id.p, other.n) != 0))
		fm->f.has_msgid = false;
	buf_free(&other);
}

/* One item of the header; true when it counts for exact. */
static bool take_item(struct facts_maker *fm, const struct item *it, struct item *first)
{
	struct facts *f = &fm->f;
	size_t i;

	if (it->kind == ITEM_FROM) {
		f->anomalies |= AN_MBOX_FROM;
		return false;
	}
	if (it->kind != ITEM_FIELD)
		return true;
	if (item_is(it, NAME("Message-ID")))
		take_msgid(fm, it);
	for (i = 0; i < N_ELEMENTS(fields); i++) {
		if (!item_is(it, fields[i].name, fields[i].name_n))
			continue;
		if (i < N_FIELDS && !first[i].p)
			first[i] = *it;
		return !fields[i].injected;
	}
	return true;
}

/* All texts, in one piece. */
static void take_texts(struct facts_maker *fm, const struct item *first)
{
	size_t at[N_FIELDS], id, i;
	struct buf *b = &fm->texts;
	struct facts *f = &fm->f;

	for (i = 0; i < N_FIELDS; i++) {
		at[i] = b->n;
		if (!first[i].p)
			continue;
		b->max = b->n + FACT_MAX;
		field_unfold(first[i].value, first[i].value_n, b);
		b->max = TEXTS_MAX;
		buf_addc(b, '\0');
	}
	id = b->n;
	buf_add(b, buf_str(&fm->id), fm->id.n < FACT_MAX ? fm->id.n : FACT_MAX);
	f->texts = xmemdup0(buf_str(b), b->n);
	for (i = 0; i < N_FIELDS; i++)
		if (first[i].p)
			*text_at(f, i) = f->texts + at[i];
	if (fm->id.n)
		f->message_id = f->texts + id;
}

static void take_fields(struct facts_maker *fm, const struct item *first)
{
	struct facts *f = &fm->f;
	size_t i;

	take_texts(fm, first);
	for (i = 0; i < IDENT_FIELDS; i++)
		add_folded(&fm->spare, first[i].value, first[i].value_n);
	sha_end(&fm->spare, f->ident);
	/* From the whole value: the text may have been cut before the date. */
	f->date_when = date_parse(first[DATE].value, first[DATE].value_n);
	f->received_when = date_received(
		first[RECEIVED].value, first[RECEIVED].value_n);
	if (!f->date_when.known)
		f->anomalies |= AN_NO_DATE;
	if (!f->message_id)
		f->anomalies |= AN_NO_MSGID;
	if (!f->has_msgid)
		return;
	sha_add(&fm->spare, fm->id.p, fm->id.n);
	sha_end(&fm->spare, f->msgid);
}

static bool has_8bit(const char *p, size_t n)
{
	uint64_t word, all = 0;

	for (; n >= sizeof(word); p += sizeof(word), n -= sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		all |= word;
	}
	for (; n; n--)
		all |= (unsigned char)*p++;
	return all & UINT64_C(0x8080808080808080);
}

/*
 * The header is the first `end` of n bytes. cut: it goes on, but is not looked
 * at any more; then no blank line is known and all of the message is body.
 */
static void header_done(
	struct facts_maker *fm, const char *p, size_t end, size_t n, bool cut)
{
	bool plain = tally_plain(&fm->tally), junk = false;
	struct item it, first[N_FIELDS] = { 0 };
	struct header h;

	header_begin(&h, p, end, plain);
	while (header_next(&h, &it)) {
		junk |= it.kind == ITEM_JUNK;
		if (!take_item(fm, &it, first))
			continue;
		canon_put(&fm->canon, it.p, it.n, plain);
		if (!cut || h.pos < end)
			canon_settle(&fm->canon);
	}
	take_fields(fm, first);
	if (has_8bit(p, end))
		fm->f.anomalies |= AN_8BIT_HEADER;
	if (cut)
		fm->f.anomalies |= AN_HEADER_CUT;
	else
		canon_end(&fm->canon, fm->head, NULL);
	header_begin(&h, p, end, plain);
	while (junk && !cut && header_next(&h, &it)) {
		if (it.kind != ITEM_JUNK)
			continue;
		canon_put(&fm->canon, it.p, it.n, plain);
		canon_settle(&fm->canon);
	}
	canon_put(&fm->canon, p + end, n - end, plain);
	fm->f.header_size = (uint32_t)end;
	fm->in_body = true;
}

/* Gathers the header; returns how many bytes it used up. */
static size_t header_put(struct facts_maker *fm, const char *p, size_t n)
{
	struct buf *b = &fm->header;
	size_t used = 0, k, end;

	fm->scan.plain = tally_plain(&fm->tally);
	/* Most come in one piece, and need not be gathered. */
	if (b->n == 0 && header_scan(&fm->scan, p, n, false, &end)) {
		header_done(fm, p, end, n, false);
		return n;
	}
	while (used < n && !fm->in_body) {
		k = n - used;
		if (k > HEADER_STEP)
			k = HEADER_STEP;
		if (k > HEADER_MAX - b->n)
			k = HEADER_MAX - b->n;
		buf_add(b, p + used, k);
		used += k;
		if (header_scan(&fm->scan, b->p, b->n, false, &end))
			header_done(fm, b->p, end, b->n, false);
		else if (b->n == HEADER_MAX)
			header_done(fm, b->p, HEADER_MAX, HEADER_MAX, true);
	}
	if (fm->in_body)
		buf_free(b);
	return used;
}

static void start(struct facts_maker *fm)
{
	enum { FROM = offsetof(struct facts_maker, raw) };

	memset((char *)fm + FROM, 0, offsetof(struct facts_maker, canon) - FROM);
	buf_clear(&fm->texts);
	if (fm->id.cap > FACT_MAX)
		buf_free(&fm->id);
	buf_clear(&fm->id);
	sha_init(&fm->raw);
	sha_init(&fm->spare);
	canon_init(&fm->canon);
	header_scan_init(&fm->scan);
	buf_init(&fm->header, HEADER_MAX);
}

void facts_begin(struct facts_maker **out)
{
	*out = xmalloc(sizeof(**out));
	buf_init(&(*out)->texts, TEXTS_MAX);
	buf_init(&(*out)->id, HEADER_MAX);
	start(*out);
}

void facts_put(struct facts_maker *fm, const char *p, size_t n)
{
	while (n) {
		size_t k = n < SLICE ? n : SLICE, used = 0;

		canon_beside(&fm->canon, &fm->raw, p, k);
		tally_put(&fm->tally, p, k);
		if (!fm->in_body)
			used = header_put(fm, p, k);
		canon_put(&fm->canon, p + used, k - used, tally_plain(&fm->tally));
		canon_sync(&fm->canon);
		p += k;
		n -= k;
	}
}

void facts_sha256(const struct facts_maker *fm, unsigned char out[DIGEST])
{
	struct sha so_far = fm->raw;

	sha_end(&so_far, out);
}

bool facts_header(const struct facts_maker *fm, size_t *end)
{
	*end = fm->f.header_size;
	return fm->in_body;
}

static void finish(struct facts_maker *fm, struct facts *f)
{
	size_t end;

	if (!fm->in_body) {
		header_scan(&fm->scan, buf_str(&fm->header), fm->header.n, true, &end);
		header_done(fm, buf_str(&fm->header), end, fm->header.n, false);
	}
	*f = fm->f;
	memset(&fm->f, 0, sizeof(fm->f)); /* the texts are the caller's now */
	tally_end(&fm->tally, f);
	sha_end(&fm->raw, f->sha256);
	canon_end(&fm->canon, f->body, f->loose);
	sha_add(&fm->spare, fm->head, DIGEST);
	sha_add(&fm->spare, f->body, DIGEST);
	sha_end(&fm->spare, f->exact);
}

static void stop(struct facts_maker *fm, struct facts *f)
{
	if (f)
		finish(fm, f);
	facts_release(&fm->f);
	buf_free(&fm->header);
	canon_release(&fm->canon);
}

void facts_end(struct facts_maker **fm, struct facts *f)
{
	if (!*fm)
		return;
	stop(*fm, f);
	buf_free(&(*fm)->texts);
	buf_free(&(*fm)->id);
	free(*fm);
	*fm = NULL;
}

void facts_next(struct facts_maker *fm, struct facts *f)
{
	stop(fm, f);
	start(fm);
}

void facts_release(struct facts *f)
{
	size_t i;

	for (i = 0; i < N_FIELDS; i++)
		*text_at(f, i) = NULL;
	f->message_id = NULL;
	free(f->texts);
	f->texts = NULL;
}
