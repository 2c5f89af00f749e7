/* csv.c: rows of messages.csv, built and taken apart. */
#include "csv.h"

#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const csv_columns[CSV_COLUMNS] = { "seq", "id", "path", "size",
	"sha256", "md5", "edrm_mih", "source_folder", "source_uidl", "source_msgno",
	"source_list_size", "retrieved_at", "internal_date", "date_hdr", "date_utc",
	"from", "to", "cc", "bcc", "sender", "reply_to", "subject", "message_id",
	"in_reply_to", "thread_id", "content_type", "attachments", "attachment_names",
	"flags", "anomalies", "dkim", "retention_class", "retain_until", "duplicate_of",
	"error" };

/* ---- building ---- */

/* The length of the UTF-8 character at s (RFC 3629), or 0. NUL is not one. */
static size_t utf8_len(const unsigned char *s, size_t n)
{
	size_t len = s[0] < 0x80              ? 1
		: s[0] >= 0xc2 && s[0] < 0xe0 ? 2
		: s[0] >= 0xe0 && s[0] < 0xf0 ? 3
		: s[0] >= 0xf0 && s[0] < 0xf5 ? 4
					      : 0;
	size_t i;

	if (len == 0 || len > n || s[0] == 0)
		return 0;
	for (i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) ||
		(s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
		return 0;
	return len;
}

/* How many of these bytes stand for themselves in a field. */
static size_t plain_len(const char *s, size_t n)
{
	size_t i = 0;

	while (i < n && (unsigned char)(s[i] - 1) < 0x7f && s[i] != '"')
		i++;
	return i;
}

static void add_field(struct buf *b, const char *s, size_t n)
{
	size_t i = 0;

	if (n == 0) {
		buf_add(b, "\"\"", 2);
		return;
	}
	if (n > CSV_FIELD_MAX)
		n = CSV_FIELD_MAX;
	buf_addc(b, '"');
	while (i < n) {
		size_t len = plain_len(s + i, n - i);

		buf_add(b, s + i, len);
		i += len;
		if (i == n)
			break;
		len = utf8_len((const unsigned char *)s + i, n - i);
		if (len == 0)
			buf_adds(b, "\xef\xbf\xbd");
		else if (s[i] == '"')
			buf_adds(b, "\"\"");
		else
			buf_add(b, s + i, len);
		i += len ? len : 1;
	}
	buf_addc(b, '"');
}

void csv_line(struct buf *b, const char *const *f, const size_t *n, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (i)
			buf_addc(b, ',');
		add_field(b, f[i] ? f[i] : "",
			n && n[i] ? n[i] : strlen(f[i] ? f[i] : ""));
	}
	buf_adds(b, "\r\n");
}

void csv_header(struct buf *b)
{
	csv_line(b, csv_columns, NULL, CSV_COLUMNS);
}

/* RFC 3339 with the zone the sender wrote. */
static void zoned(char out[40], const struct when *w)
{
	int z = abs(w->zone), h = z / 60 % 100, m = z % 60;
	size_t n;

	out[0] = '\0';
	if (w->known)
		clock_rfc3339(out, w->utc + w->zone * 60);
	n = strlen(out);
	if (n == 0)
		return;
	/* Its Z goes. */
	out[n - 1] = w->zone < 0 ? '-' : '+';
	out[n++] = (char)('0' + h / 10);
	out[n++] = (char)('0' + h % 10);
	out[n++] = ':';
	out[n++] = (char)('0' + m / 10);
	out[n++] = (char)('0' + m % 10);
	out[n] = '\0';
}

static void judged(char out[32], const struct facts *f, int64_t retrieved)
{
	const struct when *r = &f->received_when;

	if (f->date_when.known) {
		clock_rfc3339(out, f->date_when.utc);
		return;
	}
	clock_rfc3339(out, r->known ? r->utc : retrieved);
	memcpy(out + strlen(out), "~", 2);
}

static void flags_of(char out[40], const struct archive_entry *e)
{
	out[0] = '\0';
	if (e->seen || e->answered || e->flagged || e->draft)
		snprintf(out, 40, "%s%s%s%s", e->seen ? " seen" : "",
			e->answered ? " answered" : "", e->flagged ? " flagged" : "",
			e->draft ? " draft" : "");
}

static void number(char out[24], uint64_t n)
{
	*text_number(out, n) = '\0';
}

void csv_row(struct buf *b, uint64_t seq, const char *path, const struct message *m,
	const struct archive_entry *e, const struct csv_parted *parted)
{
	char no[24], id[24], size[24], sha[2 * DIGEST + 1], msgno[24], list[24] = "";
	char attachments[24];
	char retrieved[24], internal[40], utc[32], flags[40], anomalies[160];
	const struct facts *x = &m->facts;
	const char *f[CSV_COLUMNS] = { NULL };
	size_t n[CSV_COLUMNS] = { 0 };

	snprintf(id, sizeof(id), "%09" PRIu64, seq);
	number(no, seq);
	number(size, x->size);
	number(msgno, e->number);
	number(attachments, parted->attachments);
	if (e->listed_size != UINT64_MAX)
		number(list, e->listed_size);
	zoned(internal, &e->date);
	judged(utc, x, e->retrieved);
	flags_of(flags, e);
	f[CSV_SEQ] = no;
	f[CSV_ID] = id;
	f[CSV_PATH] = path;
	f[CSV_SIZE] = size;
	f[CSV_SHA256] = text_hex(sha, x->sha256, DIGEST);
	f[CSV_FOLDER] = *e->folder ? e->folder : "INBOX";
	f[CSV_UIDL] = e->uidl_n ? e->uidl : NULL;
	n[CSV_UIDL] = e->uidl_n;
	f[CSV_MSGNO] = msgno;
	f[CSV_LIST_SIZE] = list;
	f[CSV_RETRIEVED] = clock_rfc3339(retrieved, e->retrieved);
	f[CSV_INTERNAL_DATE] = internal;
	f[CSV_DATE_HDR] = x->date;
	f[CSV_DATE_UTC] = utc;
	f[CSV_FROM] = x->from;
	f[CSV_TO] = x->to;
	f[CSV_CC] = x->cc;
	f[CSV_BCC] = x->bcc;
	f[CSV_SENDER] = x->sender;
	f[CSV_REPLY_TO] = x->reply_to;
	f[CSV_SUBJECT] = x->subject;
	f[CSV_MESSAGE_ID] = x->message_id;
	f[CSV_IN_REPLY_TO] = x->in_reply_to;
	f[CSV_CONTENT_TYPE] = x->content_type;
	f[CSV_ATTACHMENTS] = attachments;
	f[CSV_ATTACHMENT_NAMES] = parted->names.p;
	n[CSV_ATTACHMENT_NAMES] = parted->names.n;
	f[CSV_FLAGS] = flags[0] ? flags + 1 : "";
	f[CSV_ANOMALIES] = anomaly_names(x->anomalies, anomalies);
	csv_line(b, f, n, CSV_COLUMNS);
}

/* ---- taking apart ---- */

void csv_parts(struct csv_part *out, size_t count, const char *line, size_t n)
{
	const char *p = line, *end = line + n, *quote;

	for (; count; count--, out++) {
		*out = (struct csv_part){ p < end ? ++p : end, 0 };
		while ((quote = memchr(p, '"', (size_t)(end - p))) != NULL &&
			quote + 1 < end && quote[1] == '"')
			p = quote + 2;
		p = quote ? quote : end;
		out->n = (size_t)(p - out->p);
		p = end - p > 2 ? p + 2 : end; /* behind the comma */
	}
}

void csv_init(struct csv *c)
{
	memset(c, 0, sizeof(*c));
	buf_init(&c->row, CSV_ROW_MAX);
}

void csv_release(struct csv *c)
{
	buf_free(&c->row);
}

static enum status damaged(struct err *err)
{
	return err_set(err, ST_DENIED, EX_DATAERR,
		"metadata/messages.csv is damaged: it is not the table it should be");
}

static enum status row_done(struct csv *c, csv_take *take, void *ctx, struct err *err)
{
	char *f[CSV_COLUMNS];
	size_t i;

	if (c->fields != CSV_COLUMNS)
		return damaged(err);
	for (i = 0; i < CSV_COLUMNS; i++) {
		f[i] = c->row.p + c->at[i];
		if (!c->body && strcmp(f[i], csv_columns[i]) != 0)
			return damaged(err);
	}
	if (!c->body) {
		c->body = true;
		return ST_OK;
	}
	return take(ctx, f, err);
}

/* What a byte means that is not one of a field's own; false: it cannot stand here. */
static bool put_byte(struct csv *c, char ch)
{
	switch (c->state) {
	case CSV_START:
		if (c->fields == 0)
			buf_clear(&c->row);
		if (ch != '"' || c->fields == CSV_COLUMNS)
			return false;
		c->at[c->fields++] = c->row.n;
		c->state = CSV_IN;
		return true;
	case CSV_IN:
		c->state = CSV_QUOTE;
		return ch == '"';
	case CSV_QUOTE:
		if (ch == '"') {
			c->state = CSV_IN;
			return buf_addc(&c->row, ch);
		}
		c->state = ch == ',' ? CSV_START : CSV_CR;
		return (ch == ',' || ch == '\r') && buf_addc(&c->row, '\0');
	default:
		return ch == '\n';
	}
}

/* Adds what comes before the next quote. *n: how much that is. */
static bool put_text(struct csv *c, const char *p, size_t left, size_t *n)
{
	const char *quote = memchr(p, '"', left);

	*n = quote ? (size_t)(quote - p) : left;
	return !memchr(p, '\0', *n) && buf_add(&c->row, p, *n);
}

enum status csv_feed(struct csv *c, const char *p, size_t n, csv_take *take, void *ctx,
	struct err *err)
{
	size_t i = 0, k = 0;

	while (i < n) {
		bool eol = c->state == CSV_CR;
		enum status rc;

		if (c->state == CSV_IN && !put_text(c, p + i, n - i, &k))
			return damaged(err);
		if (c->state == CSV_IN && (i += k) == n)
			break;
		if (!put_byte(c, p[i++]))
			return damaged(err);
		if (!eol)
			continue;
		rc = row_done(c, take, ctx, err);
		c->fields = 0;
		c->state = CSV_START;
		if (rc != ST_OK)
			return rc;
	}
	return ST_OK;
}

enum status csv_end(const struct csv *c, struct err *err)
{
	return c->body && c->state == CSV_START && c->fields == 0 ? ST_OK
								  : damaged(err);
}
