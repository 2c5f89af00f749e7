/*
 * scan.c: looking at what is stored, by FETCH.
 *
 * The scanner takes items in any order and values as atom, quoted string,
 * list or literal; it goes from line to line and literal to literal and keeps
 * nothing but the one header it is at.
 */
#include <popferry/buf.h>
#include <popferry/text.h>

#include "scan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	SCAN_WINDOW = 5000, /* UIDs, or messages where UIDs are sparse */
	SCAN_WIDER = 4,
	HEADER_KEPT = 1024 * 1024,
};

/* What one FETCH command may give: a header or two for each of a window. */
#define SCAN_MAX (4096 * MIB)

/* ---- one response ---- */

/* "* 12 FETCH (": the offset behind the parenthesis, or 0. */
static size_t fetch_start(const char *p, size_t n)
{
	static const char word[] = " FETCH (";
	size_t k = 2, len = sizeof(word) - 1;

	if (n < 3 || p[0] != '*' || p[1] != ' ')
		return 0;
	while (k < n && p[k] >= '0' && p[k] <= '9')
		k++;
	if (k == 2 || n - k < len || !text_same_n(p + k, word, len))
		return 0;
	return k + len;
}

/* The end of an item's name: a blank outside of BODY[...] and its strings. */
static size_t name_end(const char *p, size_t n)
{
	bool quoted = false, bracket = false;
	size_t k;

	for (k = 0; k < n; k++) {
		if (quoted && p[k] == '\\')
			k++;
		else if (p[k] == '"')
			quoted = !quoted;
		else if (!quoted && (p[k] == '[' || p[k] == ']'))
			bracket = p[k] == '[';
		else if (!quoted && !bracket && (p[k] == ' ' || p[k] == ')'))
			break;
	}
	return k < n ? k : n;
}

static enum item item_of(const char *p, size_t n)
{
	if (n == 3 && text_same_n(p, "UID", 3))
		return IT_UID;
	if (n == 11 && text_same_n(p, "RFC822.SIZE", 11))
		return IT_SIZE;
	if (n >= 5 && text_same_n(p, "BODY[", 5))
		return IT_BODY;
	return IT_OTHER;
}

static void value_over(struct fetch *f)
{
	if (f->depth == 0) {
		f->has_body |= f->item == IT_BODY;
		f->in_value = false;
	}
}

/* A quoted string; its end, or 0 when it has none. */
static size_t take_quoted(struct fetch *f, const char *p, size_t n)
{
	bool wanted = f->item == IT_BODY && f->depth == 0;
	size_t k;

	for (k = 1; k < n && p[k] != '"'; k++) {
		k += p[k] == '\\';
		if (wanted && k < n)
			f->take(f->ctx, p + k, 1);
	}
	value_over(f);
	return k < n ? k + 1 : 0;
}

static size_t take_atom(struct fetch *f, const char *p, size_t n)
{
	uint64_t v = 0;
	size_t k, d;

	for (k = 0; k < n && p[k] != ' ' && p[k] != '(' && p[k] != ')'; k++)
		;
	for (d = 0; d < k && d < 19 && p[d] >= '0' && p[d] <= '9'; d++)
		v = v * 10 + (uint64_t)(p[d] - '0');
	if (d == k && f->depth == 0 && f->item == IT_UID && v && v <= UINT32_MAX) {
		f->uid = (uint32_t)v;
		f->has_uid = true;
	}
	if (d == k && f->depth == 0 && f->item == IT_SIZE)
		f->size = v;
	f->nil |= f->depth == 0 && f->item == IT_BODY;
	value_over(f);
	return k;
}

/* One step in a value. Bytes used; 0 when this is no value. */
static size_t take_value(struct fetch *f, const char *p, size_t n)
{
	switch (*p) {
	case ' ':
		return 1;
	case '"':
		return take_quoted(f, p, n);
	case '(':
		f->depth++;
		return 1;
	case ')':
		if (!f->depth)
			return 0;
		f->depth--;
		value_over(f);
		return 1;
	default:
		return take_atom(f, p, n);
	}
}

/* A line's worth. False when it is not what FETCH answers. A literal ends the line. */
static bool take_line(struct fetch *f, const char *p, size_t n)
{
	size_t at = 0, used;

	while (at < n && !f->ended) {
		if (f->in_value) {
			used = take_value(f, p + at, n - at);
			if (!used)
				return false;
		} else if (p[at] == ' ') {
			used = 1;
		} else if (p[at] == ')') {
			used = 1;
			f->ended = true;
		} else {
			used = name_end(p + at, n - at);
			if (!used)
				return false;
			f->item = item_of(p + at, used);
			f->in_value = true;
			f->depth = 0;
		}
		at += used;
	}
	return true;
}

/* Reads one FETCH response whose first line is given, from offset at. */
static enum status take_fetch(struct imap *i, struct fetch *f, const char *line,
	size_t n, size_t at, struct err *err)
{
	enum status rc = ST_OK;
	const char *brace;
	uint64_t size;
	bool literal, wanted;

	f->uid = 0;
	f->size = 0;
	f->has_uid = f->has_body = f->nil = f->in_value = f->ended = false;
	f->depth = 0;
	for (;;) {
		literal = reply_literal(line + at, n - at, &size);
		brace = literal ? memrchr(line + at, '{', n - at) : line + n;
		/* A literal8 (RFC 3516). */
		if (literal && brace > line + at && brace[-1] == '~')
			brace--;
		if (!take_line(f, line + at, (size_t)(brace - line) - at) ||
			(literal && !f->in_value) || (!literal && !f->ended))
			return imap_junk(
				i, &(struct reply){ .text = line, .n = n }, err);
		if (!literal)
			return ST_OK;
		wanted = f->item == IT_BODY && f->depth == 0;
		rc = reply_take(i, size, wanted ? f->take : NULL, f->ctx, err);
		if (rc == ST_OK)
			rc = reply_line(i, &line, &n, err);
		if (rc != ST_OK)
			return rc;
		value_over(f);
		at = 0;
	}
}

/* ---- one command ---- */

enum status scan_fetch(struct imap *i, const char *command, struct fetch *f,
	fetch_each *before, fetch_each *after, void *ctx, struct reply *r,
	struct err *err)
{
	int tag = imap_tag(i);
	enum status rc;
	const char *line;
	size_t n, at;

	rc = conn_sendf(i->conn, err, "%d %s\r\n", tag, command);
	if (rc == ST_OK)
		rc = conn_flush(i->conn, err);
	conn_budget(i->conn, SCAN_MAX);
	/* What comes is mail, also between the literals. */
	conn_quiet(i->conn, true);
	while (rc == ST_OK) {
		rc = reply_line(i, &line, &n, err);
		if (rc != ST_OK)
			break;
		at = fetch_start(line, n);
		if (at) {
			before(ctx, f);
			rc = take_fetch(i, f, line, n, at, err);
			if (rc == ST_OK)
				after(ctx, f);
			continue;
		}
		reply_parse(r, line, n);
		if (r->kind == REPLY_DATA)
			rc = reply_rest(i, line, n, NULL, NULL, err);
		else if (r->kind == REPLY_BYE)
			rc = imap_bye(i, r, err);
		else if (r->tag == tag && r->kind != REPLY_JUNK)
			break;
		else if (r->tag || r->kind == REPLY_JUNK || r->kind == REPLY_GO)
			rc = imap_junk(i, r, err);
	}
	conn_quiet(i->conn, false);
	conn_budget(i->conn, UINT64_MAX);
	return rc;
}

/* ---- many messages ---- */

struct scan {
	void (*each)(void *ctx, const struct imap_seen *m);
	void *ctx;
	uint32_t from, to; /* the window */
	uint32_t seen;     /* in it */
	uint32_t highest;  /* of those */
	uint64_t all;      /* seen in all windows */
	struct gap {
		uint32_t from, to;
	} * gaps; /* behind the last message of a window: was it the last? */
	size_t n_gaps, cap_gaps;
	struct buf header;
};

static void keep_header(void *ctx, const char *p, size_t n)
{
	struct buf *b = ctx;
	size_t room = b->max - b->n;

	buf_add(b, p, n < room ? n : room);
}

static void scan_before(void *ctx, const struct fetch *f)
{
	struct scan *s = ctx;

	(void)f;
	buf_clear(&s->header);
}

/* Unsolicited responses have no body, and "n:*" gives what was not asked for (Q118). */
static void scan_after(void *ctx, const struct fetch *f)
{
	struct scan *s = ctx;
	struct imap_seen m = { f->uid, f->size, buf_str(&s->header), s->header.n };

	if (!f->has_uid || !f->has_body || f->uid < s->from || f->uid > s->to)
		return;
	s->seen++;
	s->all++;
	if (f->uid > s->highest)
		s->highest = f->uid;
	s->each(s->ctx, &m);
}

/* The UID down to which an answer went that the server cut short (RFC 9738). */
static bool cut_short(const struct reply *r, uint32_t *uid)
{
	unsigned long v;
	const char *p;
	char *end;
	size_t n;

	if (!reply_code(r, "MESSAGELIMIT", &p, &n))
		return false;
	strtoul(p, &end, 10);
	v = strtoul(end, NULL, 10);
	*uid = v <= UINT32_MAX ? (uint32_t)v : 0;
	return true;
}

static enum status scan_window(struct imap *i, struct scan *s, struct err *err)
{
	struct fetch f = { .take = keep_header, .ctx = &s->header };
	struct buf command = BUF_INIT(256);
	struct reply r = { 0 };
	uint32_t lowest;
	enum status rc;

	for (;;) {
		buf_clear(&command);
		buf_addf(&command,
			"UID FETCH %" PRIu32 ":%" PRIu32
			" (UID RFC822.SIZE BODY.PEEK[HEADER.FIELDS "
			"(Message-ID From Date Subject To Cc List-Id)])",
			s->from, s->to);
		rc = scan_fetch(i, command.p, &f, scan_before, scan_after, s, &r, err);
		if (rc != ST_OK)
			break;
		if (r.kind != REPLY_OK) {
			rc = imap_no(i, &r, EX_PROTOCOL, err,
				"%s does not show what is in mailbox \"%s\"", i->where,
				i->selected->pub.wire);
			break;
		}
		if (!cut_short(&r, &lowest) || lowest == s->from)
			break;
		if (lowest < s->from || lowest > s->to) {
			rc = imap_junk(i, &r, err);
			break;
		}
		s->to = lowest - 1;
	}
	buf_free(&command);
	return rc;
}

static enum status scan_from(
	struct imap *i, struct scan *s, uint32_t from, uint32_t to, struct err *err)
{
	enum status rc;

	s->from = from;
	s->to = to;
	s->seen = s->highest = 0;
	rc = scan_window(i, s, err);
	if (rc != ST_OK || !s->highest || s->highest >= to)
		return rc;
	if (s->n_gaps == s->cap_gaps) {
		s->cap_gaps = s->cap_gaps ? 2 * s->cap_gaps : 16;
		s->gaps = xreallocarray(s->gaps, s->cap_gaps, sizeof(*s->gaps));
	}
	s->gaps[s->n_gaps++] = (struct gap){ s->highest + 1, to };
	return ST_OK;
}

/*
 * Fewer messages than there are: the server may have cut its answers short and
 * said nothing (quirk Q90). It is asked again behind the last of each.
 */
static enum status scan_gaps(struct imap *i, struct scan *s, struct err *err)
{
	enum status rc = ST_OK;
	struct gap g;

	while (rc == ST_OK && s->n_gaps) {
		g = s->gaps[--s->n_gaps];
		rc = scan_from(i, s, g.from, g.to, err);
		i->cuts_short |= s->seen > 0;
	}
	return rc;
}

static enum status nothing_selected(struct err *err)
{
	return err_set(err, ST_FATAL, EX_SOFTWARE, "no mailbox is selected");
}

/* Where UIDs are sparse the next window is wider. */
static uint64_t next_width(uint64_t width, uint32_t seen)
{
	if (seen > SCAN_WINDOW)
		return SCAN_WINDOW;
	return seen < SCAN_WINDOW / SCAN_WIDER ? width * SCAN_WIDER : width;
}

enum status imap_scan(struct imap *i, uint32_t first,
	void (*each)(void *ctx, const struct imap_seen *m), void *ctx, struct err *err)
{
	struct scan s = { .each = each, .ctx = ctx, .header = BUF_INIT(HEADER_KEPT) };
	uint64_t from, next, end, width = SCAN_WINDOW;
	enum status rc = imap_finish(i, err);

	if (rc != ST_OK)
		return rc;
	if (!i->selected)
		return nothing_selected(err);
	if (i->message_limit && i->message_limit < width)
		width = i->message_limit;
	end = i->selected->pub.exists ? i->selected->pub.uidnext : 0;
	for (from = first ? first : 1; rc == ST_OK && from < end; from = next) {
		next = end - from < width ? end : from + width;
		rc = scan_from(i, &s, (uint32_t)from, (uint32_t)(next - 1), err);
		if (!i->message_limit)
			width = next_width(width, s.seen);
	}
	if (rc == ST_OK &&
		(i->cuts_short || (first <= 1 && s.all < i->selected->pub.exists)))
		rc = scan_gaps(i, &s, err);
	free(s.gaps);
	buf_free(&s.header);
	return rc;
}

/* ---- one message ---- */

struct single {
	mail_take *take;
	void *ctx;
	uint32_t uid;
	bool taken, wrong;
};

static void single_take(void *ctx, const char *p, size_t n)
{
	const struct single *s = ctx;

	s->take(s->ctx, p, n);
}

static void single_before(void *ctx, const struct fetch *f)
{
	(void)ctx;
	(void)f;
}

static void single_after(void *ctx, const struct fetch *f)
{
	struct single *s = ctx;

	if (!f->has_body || f->nil)
		return;
	s->wrong |= s->taken || (f->has_uid && f->uid != s->uid);
	s->taken = true;
}

enum status imap_fetch(
	struct imap *i, uint32_t uid, mail_take *take, void *ctx, struct err *err)
{
	struct single s = { take, ctx, uid, false, false };
	struct fetch f = { .take = single_take, .ctx = &s };
	struct buf command = BUF_INIT(64);
	enum status rc = imap_finish(i, err);
	struct reply r = { 0 };

	if (rc != ST_OK)
		return rc;
	if (!i->selected)
		return nothing_selected(err);
	buf_addf(&command, "UID FETCH %" PRIu32 " (UID BODY.PEEK[])", uid);
	rc = scan_fetch(i, command.p, &f, single_before, single_after, &s, &r, err);
	buf_free(&command);
	if (rc != ST_OK)
		return rc;
	if (s.wrong)
		return imap_junk(i, &r, err);
	if (r.kind != REPLY_OK && !verdict_of_one(reply_verdict(&r)))
		return imap_no(i, &r, EX_UNAVAILABLE, err,
			"%s does not give a message back", i->where);
	if (r.kind != REPLY_OK || !s.taken) {
		err_set(err, ST_SKIP, EX_DATAERR,
			"message with UID %" PRIu32 " is gone from \"%s\" at %s", uid,
			i->selected->pub.wire, i->where);
		if (err && r.kind != REPLY_OK)
			err_reply(err, r.text, r.n);
		return ST_SKIP;
	}
	return ST_OK;
}

/* ---- UIDNEXT, where SELECT does not tell it (quirk Q116) ---- */

static void drop(void *ctx, const char *p, size_t n)
{
	(void)ctx;
	(void)p;
	(void)n;
}

static void highest(void *ctx, const struct fetch *f)
{
	uint32_t *uid = ctx;

	if (f->has_uid && f->uid > *uid)
		*uid = f->uid;
}

enum status scan_uidnext(struct imap *i, uint32_t *uidnext, struct err *err)
{
	struct fetch f = { .take = drop };
	struct reply r = { 0 };
	enum status rc;
	uint32_t uid = 0;

	if (i->selected->pub.exists) {
		rc = scan_fetch(i, "UID FETCH * (UID)", &f, single_before, highest,
			&uid, &r, err);
		if (rc != ST_OK)
			return rc;
	}
	*uidnext = uid < UINT32_MAX ? uid + 1 : uid;
	return ST_OK;
}
