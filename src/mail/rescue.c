/*
 * rescue.c: a message in a form that a particular server takes.
 *
 * Both forms are streams made of a header that is worked out in memory, which
 * is bounded by HEADER_MAX, and of what follows it, which goes by in pieces. They
 * depend on the message alone, so that a copy sent before a crash is known again.
 */
#include <popferry/mail.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "encode.h"
#include "header.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	LINE_MAX = 998, /* RFC 5322, without its end */
	PIECE = 16 * 1024,
	BASE64_LINE = 57, /* bytes that make 76 characters */
	HEAD_CEILING = 4 * HEADER_MAX,
};

#define NAME(s) s, sizeof(s) - 1

/* ---- reading ---- */

/* The header block as it is stored; *out is the caller's. */
static enum status read_header(
	const struct message *m, struct buf *out, struct err *err)
{
	size_t want = m->facts.header_size, n;
	char block[PIECE];
	const char *p;
	enum status rc;

	while (out->n < want) {
		rc = body_read(m->body, out->n, block, sizeof(block), &p, &n, err);
		if (rc != ST_OK)
			return rc;
		if (!n)
			break;
		buf_add(out, p, n < want - out->n ? n : want - out->n);
	}
	return ST_OK;
}

/* What goes up from offset `from` on; the byte before it ended a line. */
static enum status pass_wire(const struct message *m, uint64_t from, mail_take *take,
	void *ctx, struct err *err)
{
	char *block = xmalloc(PIECE);
	struct wire w;
	const char *p;
	enum status rc;
	size_t n;

	wire_begin(&w, m);
	w.off = from;
	if (from)
		w.last = '\n';
	while ((rc = wire_next(&w, block, PIECE, &p, &n, err)) == ST_OK && n)
		take(ctx, p, n);
	free(block);
	return rc;
}

/* ---- repair ---- */

/* Fields with addresses, and others whose words mean something to programs. */
static const char *const address_fields[] = { "From", "Sender", "Reply-To", "To", "Cc",
	"Bcc", "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "Resent-Bcc",
	"Errors-To", "Disposition-Notification-To", "Mail-Followup-To" };
static const char *const strict_fields[] = { "Date", "Message-ID", "In-Reply-To",
	"References", "Received", "Return-Path", "Resent-Date", "Resent-Message-ID",
	"MIME-Version", "Content-*", "List-*", "DKIM-*", "ARC-*", "DomainKey-*",
	"Authentication-Results", "Received-SPF" };

static bool among(const struct item *it, const char *const *names, size_t n)
{
	size_t k;

	for (k = 0; k < n; k++)
		if (text_glob(names[k], it->name, it->name_n))
			return true;
	return false;
}

/* The next line of an item, without its end; ends are those of header.h. */
static bool next_line(const char **p, const char *end, const char **line, size_t *n)
{
	const char *s = *p;

	if (s == end)
		return false;
	while (s < end && *s != '\r' && *s != '\n')
		s++;
	*line = *p;
	*n = (size_t)(s - *p);
	for (*p = s; *p < end && **p == '\r'; ++*p)
		;
	if (*p < end && **p == '\n')
		++*p;
	else if (*p > s)
		*p = s + 1; /* a lone CR */
	return true;
}

/* The last blank at which the line can be broken to be short, or else the first. */
static size_t break_at(const char *p, size_t n)
{
	size_t k, found = 0;

	for (k = 1; k + 1 < n && (k <= LINE_MAX || !found); k++)
		if ((p[k] == ' ' || p[k] == '\t') && p[k - 1] != ' ' &&
			p[k - 1] != '\t')
			found = k;
	return found;
}

/* Blanks alone would be a line that ends the header for some. */
static bool only_blanks(const char *p, size_t n)
{
	while (n && (p[n - 1] == ' ' || p[n - 1] == '\t'))
		n--;
	return n == 0;
}

static void add_line(struct buf *out, const char *p, size_t n, size_t before)
{
	size_t k;

	while (before + n > LINE_MAX && (k = break_at(p, n)) != 0 &&
		!only_blanks(p + k, n - k)) {
		buf_add(out, p, k);
		buf_adds(out, "\r\n");
		p += k;
		n -= k;
		before = 0;
	}
	buf_add(out, p, n);
	buf_adds(out, "\r\n");
}

/* The lines of an item, behind what stands in the first one already. */
static void add_lines(struct buf *out, const char *p, size_t n, size_t before)
{
	const char *end = p + n, *line;
	size_t k;

	if (!n) /* a last line that ends with its colon */
		buf_adds(out, "\r\n");
	while (next_line(&p, end, &line, &k)) {
		add_line(out, line, k, before);
		before = 0;
	}
}

static bool has_8bit(const char *p, size_t n)
{
	for (; n; n--)
		if ((unsigned char)*p++ >= 0x80)
			return true;
	return false;
}

/* A field with bytes over 127, or with NUL, which would go up as such. */
static void add_encoded(struct buf *out, const char *name, size_t name_n,
	const struct item *it, const char *value, size_t value_n)
{
	struct buf text = BUF_INIT(HEADER_MAX), clean = BUF_INIT(HEAD_CEILING);

	field_unfold(value, value_n, &text);
	if (among(it, address_fields, N_ELEMENTS(address_fields)))
		encode_addresses(&clean, buf_str(&text), text.n);
	else if (among(it, strict_fields, N_ELEMENTS(strict_fields)))
		encode_plain(&clean, buf_str(&text), text.n);
	else
		encode_text(&clean, buf_str(&text), text.n);
	if (!encode_fold(out, name, name_n, buf_str(&clean))) {
		buf_add(out, name, name_n);
		buf_addf(out, ": %s\r\n", buf_str(&clean));
	}
	buf_free(&text);
	buf_free(&clean);
}

static void repair_item(struct buf *out, const struct item *it)
{
	static const char unparsable[] = "X-Unparsable";
	bool odd = has_8bit(it->p, it->n) || memchr(it->p, '\0', it->n);
	struct item named = *it;

	if (it->kind == ITEM_FIELD && odd) {
		add_encoded(out, it->name, it->name_n, it, it->value, it->value_n);
	} else if (it->kind == ITEM_FIELD) {
		/* Blanks before the colon go. */
		buf_add(out, it->name, it->name_n);
		buf_addc(out, ':');
		add_lines(out, it->value, it->n - (size_t)(it->value - it->p),
			it->name_n + 1);
	} else if (odd) {
		named.name = unparsable;
		named.name_n = sizeof(unparsable) - 1;
		add_encoded(
			out, unparsable, sizeof(unparsable) - 1, &named, it->p, it->n);
	} else {
		buf_addf(out, "%s: ", unparsable);
		add_lines(out, it->p, it->n, sizeof(unparsable) + 1);
	}
}

/* The header of the message in the form it goes up today. */
static void wire_header(struct buf *out, const char *p, size_t n)
{
	char last = 0;

	for (; n; n--, p++) {
		if (*p == '\n' && last != '\r')
			buf_addc(out, '\r');
		buf_addc(out, *p ? *p : '\x80');
		last = *p;
	}
	if (last != '\n')
		buf_adds(out, "\r\n");
}

/* ST_END: there is nothing that we know to repair. */
static enum status repair_head(
	const struct message *m, struct buf *out, struct err *err)
{
	struct buf head = BUF_INIT(HEADER_MAX), plain = BUF_INIT(HEAD_CEILING);
	bool begun = false, same;
	struct header h;
	struct item it;
	enum status rc;

	if (m->facts.anomalies & AN_HEADER_CUT)
		return ST_END;
	rc = read_header(m, &head, err);
	if (rc != ST_OK)
		goto out;
	header_begin(&h, buf_str(&head), head.n, false);
	while (header_next(&h, &it)) {
		/* Blank lines before the first field would end the header. */
		if (it.kind == ITEM_FROM || (it.kind == ITEM_BLANK && !begun))
			continue;
		begun = true;
		if (it.kind == ITEM_BLANK)
			buf_adds(out, "\r\n");
		else
			repair_item(out, &it);
	}
	wire_header(&plain, buf_str(&head), head.n);
	same = !head.n || !begun ||
		(plain.n == out->n && memcmp(buf_str(&plain), out->p, out->n) == 0);
	rc = same ? ST_END : ST_OK;
out:
	buf_free(&head);
	buf_free(&plain);
	return rc;
}

/* ---- wrap ---- */

/* True when the original can be a message/rfc822 part as it is. */
static bool is_clean(const struct message *m)
{
	const unsigned bad = AN_NUL | AN_BARE_LF | AN_BARE_CR | AN_8BIT_HEADER |
		AN_LONG_LINE | AN_HEADER_CUT | AN_MBOX_FROM;
	struct buf head = BUF_INIT(HEAD_CEILING);
	bool clean;

	if ((m->facts.anomalies & bad) || !m->facts.header_size)
		return false;
	clean = repair_head(m, &head, NULL) == ST_END;
	buf_free(&head);
	return clean;
}

/* A list that was cut where the facts end: the last address may be half of one. */
static size_t whole_addresses(const char *s)
{
	size_t n = strlen(s);
	const char *comma = n >= FACT_MAX ? memrchr(s, ',', n) : NULL;

	return comma ? (size_t)(comma - s) : n;
}

static void add_addresses(struct buf *out, const char *name, const char *value)
{
	struct buf b = BUF_INIT(HEAD_CEILING);

	if (!value || !*value)
		return;
	encode_addresses(&b, value, whole_addresses(value));
	encode_fold(out, name, strlen(name), buf_str(&b));
	buf_free(&b);
}

static void add_subject(struct buf *out, const char *value)
{
	struct buf b = BUF_INIT(HEAD_CEILING);

	if (!value || !*value)
		return;
	encode_text(&b, value, strlen(value));
	if (!encode_fold(out, NAME("Subject"), buf_str(&b))) {
		/* One endless word. */
		b.p[LINE_MAX / 2] = '\0';
		encode_fold(out, NAME("Subject"), b.p);
	}
	buf_free(&b);
}

/* The sender's own words, where they are fit; else the same moment anew. */
static void add_date(struct buf *out, const struct facts *f)
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	const struct when *w = &f->date_when;
	int zone = w->zone < 0 ? -w->zone : w->zone;
	time_t t = (time_t)(w->utc + (int64_t)w->zone * 60);
	char text[64];
	struct tm tm;

	if (!w->known)
		return;
	if (f->date && strlen(f->date) < sizeof(text) &&
		!encode_needed(f->date, strlen(f->date))) {
		encode_fold(out, NAME("Date"), f->date);
		return;
	}
	if (!gmtime_r(&t, &tm))
		return;
	snprintf(text, sizeof(text), "%.3s, %d %.3s %d %02d:%02d:%02d %c%02d%02d",
		days + 3 * (size_t)tm.tm_wday, tm.tm_mday,
		months + 3 * (size_t)tm.tm_mon, tm.tm_year + 1900, tm.tm_hour,
		tm.tm_min, tm.tm_sec, w->zone < 0 ? '-' : '+', zone / 60, zone % 60);
	encode_fold(out, NAME("Date"), text);
}

/* The <...> of a field, those that are fit. */
static void add_ids(struct buf *out, const char *name, const char *p, size_t n)
{
	struct buf b = BUF_INIT(FACT_MAX + 1);
	const char *end = p + n, *close;

	while (p < end && (p = memchr(p, '<', (size_t)(end - p)))) {
		close = memchr(p, '>', (size_t)(end - p));
		if (!close)
			break;
		n = (size_t)(close + 1 - p);
		if (!encode_needed(p, n) && !memchr(p, ' ', n) && !memchr(p, '\t', n) &&
			n < LINE_MAX - 16) {
			buf_add(&b, p, n);
			buf_addc(&b, ' ');
		}
		p = close + 1;
	}
	if (b.n)
		encode_fold(out, name, strlen(name), b.p);
	buf_free(&b);
}

static void add_field_ids(struct buf *out, const struct message *m, const char *name)
{
	struct buf b = BUF_INIT(FACT_MAX);

	if (message_field(m, name, 0, &b))
		add_ids(out, name, buf_str(&b), b.n);
	buf_free(&b);
}

static void add_boundary(struct buf *out, const struct message *m)
{
	char hex[2 * DIGEST + 1];

	buf_addf(out, "popferry-%.40s", text_hex(hex, m->facts.sha256, DIGEST));
}

static void wrap_head(const struct message *m, struct buf *out)
{
	const struct facts *f = &m->facts;

	add_addresses(out, "From", f->from);
	add_addresses(out, "To", f->to);
	add_addresses(out, "Cc", f->cc);
	add_subject(out, f->subject);
	add_date(out, f);
	if (f->has_msgid)
		add_ids(out, "Message-ID", f->message_id, strlen(f->message_id));
	add_field_ids(out, m, "In-Reply-To");
	add_field_ids(out, m, "References");
	buf_adds(out,
		"MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=\"");
	add_boundary(out, m);
	buf_adds(out, "\"\r\n\r\n");
}

/* Bytes as they were received, 57 to a line. */
static enum status pass_base64(
	const struct message *m, mail_take *take, void *ctx, struct err *err)
{
	enum { ROUND = BASE64_LINE * 256 };
	char *block = xmalloc(ROUND);
	struct buf raw = BUF_INIT(2 * ROUND), out = BUF_INIT(4 * ROUND);
	enum status rc = ST_OK;
	uint64_t off = 0;
	const char *p;
	size_t n = 1, at, k;

	while (rc == ST_OK && n) {
		rc = body_read(m->body, off, block, ROUND, &p, &n, err);
		if (rc != ST_OK)
			break;
		n = n < ROUND ? n : ROUND;
		off += n;
		buf_add(&raw, p, n);
		buf_clear(&out);
		for (at = 0; raw.n - at >= BASE64_LINE || (!n && at < raw.n); at += k) {
			k = raw.n - at < BASE64_LINE ? raw.n - at : BASE64_LINE;
			text_base64(&out, raw.p + at, k);
			buf_adds(&out, "\r\n");
		}
		buf_drop(&raw, at);
		take(ctx, buf_str(&out), out.n);
	}
	buf_free(&raw);
	buf_free(&out);
	free(block);
	return rc;
}

static enum status wrap_rest(
	const struct message *m, mail_take *take, void *ctx, struct err *err)
{
	struct buf b = BUF_INIT(4096);
	bool clean = is_clean(m);
	enum status rc;

	buf_adds(&b, "--");
	add_boundary(&b, m);
	buf_adds(&b,
		"\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
		"The mail server did not accept this message as it is. It is attached,\r\n"
		"unchanged.\r\n\r\n--");
	add_boundary(&b, m);
	buf_adds(&b,
		clean ? "\r\nContent-Type: message/rfc822\r\n"
			"Content-Transfer-Encoding: 8bit\r\n"
		      : "\r\nContent-Type: application/octet-stream;\r\n"
			" name=\"original.eml\"\r\n"
			"Content-Transfer-Encoding: base64\r\n");
	buf_adds(&b,
		"Content-Disposition: attachment; filename=\"original.eml\"\r\n\r\n");
	take(ctx, b.p, b.n);
	rc = clean ? pass_wire(m, 0, take, ctx, err) : pass_base64(m, take, ctx, err);
	buf_clear(&b);
	buf_adds(&b, "\r\n--");
	add_boundary(&b, m);
	buf_adds(&b, "--\r\n");
	take(ctx, b.p, b.n);
	buf_free(&b);
	return rc;
}

/* ---- both ---- */

enum status rescue_head(
	enum rescue how, const struct message *m, struct buf *out, struct err *err)
{
	buf_init(out, HEAD_CEILING);
	if (how == RESCUE_REPAIR)
		return repair_head(m, out, err);
	wrap_head(m, out);
	return ST_OK;
}

enum status rescue_write(enum rescue how, const struct message *m, mail_take *take,
	void *ctx, struct err *err)
{
	struct buf head;
	enum status rc = rescue_head(how, m, &head, err);

	if (rc == ST_OK) {
		take(ctx, head.p, head.n);
		rc = how == RESCUE_REPAIR
			? pass_wire(m, m->facts.header_size, take, ctx, err)
			: wrap_rest(m, take, ctx, err);
	}
	buf_free(&head);
	return rc;
}

enum status rescue_make(struct message **out, enum rescue how, const struct message *m,
	struct spool *sp, struct err *err)
{
	struct message_maker *mk;
	enum status rc;

	message_begin(&mk, sp);
	rc = rescue_write(how, m, message_put, mk, err);
	if (rc == ST_OK)
		return message_end(&mk, out, err);
	message_drop(&mk);
	return rc;
}
