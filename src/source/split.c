/* split.c: an mbox file, line by line. */
#include "split.h"

#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	WINDOW = 256 * 1024,
	SEEN = 1100, /* bytes of a line that are looked at */
	WORDS = 12,  /* of a From_ line */
};

static const char from[] = "From ";
enum { FROM_N = sizeof(from) - 1 };

struct split {
	int fd;
	uint64_t size;
	const char *path;
	enum status (*stop)(void *ctx, struct err *err);
	void *ctx;
	char *p; /* the window, n bytes at off */
	size_t n;
	uint64_t off;
};

void split_open(struct split **out, int fd, uint64_t size, const char *path,
	enum status (*stop)(void *ctx, struct err *err), void *ctx)
{
	struct split *s = xcalloc(1, sizeof(*s));

	s->fd = fd;
	s->size = size;
	s->path = path;
	s->stop = stop;
	s->ctx = ctx;
	s->p = xmalloc(WINDOW);
	*out = s;
}

void split_close(struct split **sp)
{
	if (!*sp)
		return;
	free((*sp)->p);
	free(*sp);
	*sp = NULL;
}

/* ---- the window ---- */

/* All that is there at off: SEEN bytes at least, or to the end of the file. */
static enum status look(
	struct split *s, uint64_t off, const char **p, size_t *n, struct err *err)
{
	uint64_t left = s->size - off;
	ssize_t got;

	if (off < s->off || off > s->off + s->n ||
		s->off + s->n - off < (left < SEEN ? left : SEEN)) {
		enum status rc = s->stop(s->ctx, err);

		if (rc != ST_OK)
			return rc;
		s->n = left < WINDOW ? (size_t)left : WINDOW;
		s->off = off;
		got = fs_pread(s->fd, s->p, s->n, off);
		if (got < 0)
			return err_sys(err, ST_DENIED, "%s", s->path);
		if ((size_t)got < s->n)
			return err_set(err, ST_RETRY, EX_TEMPFAIL,
				"%s became shorter while it was read", s->path);
	}
	*p = s->p + (off - s->off);
	*n = (size_t)(s->off + s->n - off);
	return ST_OK;
}

/* The next line's first byte; size when there is none. */
static enum status skip_line(struct split *s, uint64_t *off, struct err *err)
{
	enum status rc = ST_OK;
	const char *p, *end;
	size_t n;

	while (*off < s->size) {
		rc = look(s, *off, &p, &n, err);
		if (rc != ST_OK)
			break;
		end = memchr(p, '\n', n);
		*off += end ? (size_t)(end - p) + 1 : n;
		if (end)
			break;
	}
	return rc;
}

/* The length of an empty line, or 0. */
static size_t empty_line(const char *p, size_t n)
{
	if (n && p[0] == '\n')
		return 1;
	return n > 1 && p[0] == '\r' && p[1] == '\n' ? 2 : 0;
}

/* ---- From_ lines ---- */

struct word {
	const char *p;
	size_t n;
};

static unsigned words_of(struct word v[WORDS], const char *p, size_t n)
{
	unsigned k = 0;
	size_t i = 0;

	while (k < WORDS) {
		while (i < n && (p[i] == ' ' || p[i] == '\t' || p[i] == '\r'))
			i++;
		if (i == n)
			break;
		v[k].p = p + i;
		while (i < n && p[i] != ' ' && p[i] != '\t' && p[i] != '\r')
			i++;
		v[k].n = (size_t)(p + i - v[k].p);
		k++;
	}
	return k;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "10:00", "9:59:59" */
static bool is_time(const struct word *w)
{
	size_t i = is_digit(w->p[0]) && w->n > 1 && is_digit(w->p[1]) ? 2 : 1;

	return w->n >= i + 3 && is_digit(w->p[0]) && w->p[i] == ':' &&
		is_digit(w->p[i + 1]) && is_digit(w->p[i + 2]);
}

static bool is_year(const struct word *w)
{
	return w->n == 4 &&
		(memcmp(w->p, "19", 2) == 0 || memcmp(w->p, "20", 2) == 0) &&
		is_digit(w->p[2]) && is_digit(w->p[3]);
}

static bool is_field(const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && p[i] > ' ' && p[i] < 127 && p[i] != ':')
		i++;
	return i > 0 && i < n && p[i] == ':';
}

/*
 * Text has lines that start with "From " too: one that parts messages has a date, or is
 * just a sender with a header behind it.
 */
static bool is_from(const char *p, size_t n)
{
	struct word v[WORDS];
	bool time = false, year = false;
	const char *end;
	unsigned k, i;
	size_t len;

	if (n < FROM_N || memcmp(p, from, FROM_N) != 0)
		return false;
	end = memchr(p, '\n', n < SEEN ? n : SEEN);
	if (!end)
		return false;
	len = (size_t)(end - p);
	k = words_of(v, p + FROM_N, len - FROM_N);
	for (i = 1; i < k; i++) {
		time |= is_time(&v[i]);
		year |= is_year(&v[i]);
	}
	return (time && year) || (k == 1 && is_field(end + 1, n - len - 1));
}

/*
 * "Tue Nov 22 10:00:00 2026", with a zone before or behind the year, or without. That of
 * Mozilla, whose sender is "-", is when the file was written, and no date.
 */
static struct when date_of(const char *p, size_t n)
{
	static const char days[] = "MonTueWedThuFriSatSun";
	struct word v[WORDS], year = { "", 0 }, zone = { "", 0 };
	unsigned k = words_of(v, p + FROM_N, n - FROM_N), i, d;
	char text[128];

	if (k && v[0].n == 1 && *v[0].p == '-')
		k = 0;
	for (i = 1; i + 4 < k; i++) {
		for (d = 0; days[d] && memcmp(v[i].p, days + d, 3) != 0; d += 3)
			;
		if (v[i].n == 3 && days[d] && is_time(&v[i + 3]))
			break;
	}
	if (i + 4 >= k)
		return (struct when){ 0 };
	for (d = i + 4; d < k; d++) {
		if (is_year(&v[d]) && !year.n)
			year = v[d];
		else if (!zone.n)
			zone = v[d];
	}
	snprintf(text, sizeof(text), "%.*s %.*s %.*s %.*s %.*s", (int)v[i + 2].n,
		v[i + 2].p, (int)v[i + 1].n, v[i + 1].p, (int)year.n, year.p,
		(int)v[i + 3].n, v[i + 3].p, (int)zone.n, zone.p);
	return date_parse(text, strlen(text));
}

/* ---- header fields ---- */

/* True when it is this field; *value starts behind its colon. */
static bool field_is(const char *p, size_t n, const char *name, const char **value)
{
	size_t k = strlen(name);

	if (n <= k || p[k] != ':' || !text_same_n(p, name, k))
		return false;
	*value = p + k + 1;
	return true;
}

static void read_status(struct split_mail *m, const char *p, const char *end)
{
	for (; p < end; p++)
		m->seen |= *p == 'R';
}

static void read_x_status(struct split_mail *m, const char *p, const char *end)
{
	for (; p < end; p++) {
		m->seen |= *p == 'R';
		m->answered |= *p == 'A';
		m->flagged |= *p == 'F';
		m->draft |= *p == 'T';
	}
}

/* Hexadecimal bits. One that is only marked as deleted is as good as any other. */
static void read_mozilla(struct split_mail *m, const char *p, const char *end)
{
	enum { READ = 1, REPLIED = 2, MARKED = 4 };
	char text[8] = "";
	unsigned long bits;

	while (p < end && *p == ' ')
		p++;
	memcpy(text, p, (size_t)(end - p) < 4 ? (size_t)(end - p) : 4);
	bits = strtoul(text, NULL, 16);
	m->seen |= (bits & READ) != 0;
	m->answered |= (bits & REPLIED) != 0;
	m->flagged |= (bits & MARKED) != 0;
}

/* Fields in which programs note what becomes of a message in their file. */
static const struct {
	const char *name;
	void (*read)(struct split_mail *m, const char *p, const char *end);
} notes[] = {
	{ "Status", read_status },
	{ "X-Status", read_x_status },
	{ "X-Mozilla-Status", read_mozilla },
	{ "X-Mozilla-Status2", NULL },
	{ "X-Mozilla-Keys", NULL },
	{ "X-Keywords", NULL },
	{ "X-UID", NULL },
	{ "X-IMAP", NULL },
	{ "X-IMAPbase", NULL },
	{ "Content-Length", NULL },
	{ "Lines", NULL },
};

static uint64_t number_of(const char *p, const char *end)
{
	uint64_t n = 0;
	unsigned digits = 0;

	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	for (; p < end && is_digit(*p) && digits < 18; p++, digits++)
		n = 10 * n + (uint64_t)(*p - '0');
	return digits && digits < 18 ? n : UINT64_MAX;
}

struct reading {
	struct split_mail *m;
	mail_take *digest;
	void *ctx;
	uint64_t length; /* Content-Length; UINT64_MAX: none */
	bool note;       /* in such a field */
};

static void read_field(struct reading *r, const char *p, size_t n)
{
	const char *end = memchr(p, '\n', n), *value;
	size_t i;

	end = end ? end : p + n;
	n = (size_t)(end - p);
	if (n && (*p == ' ' || *p == '\t'))
		return; /* of the field before */
	r->note = false;
	for (i = 0; i < N_ELEMENTS(notes); i++) {
		if (!field_is(p, n, notes[i].name, &value))
			continue;
		r->note = true;
		if (notes[i].read)
			notes[i].read(r->m, value, end);
	}
	if (r->length == UINT64_MAX && field_is(p, n, "Content-Length", &value))
		r->length = number_of(value, end);
}

/* From m->start up to and with the empty line. *blank: where that stands. */
static enum status read_header(
	struct split *s, struct reading *r, uint64_t *blank, struct err *err)
{
	uint64_t off = r->m->start;
	enum status rc = ST_OK;
	bool start = true;
	const char *p, *end;
	size_t n;

	*blank = s->size;
	while (rc == ST_OK && off < s->size) {
		rc = look(s, off, &p, &n, err);
		if (rc != ST_OK)
			break;
		if (start && empty_line(p, n)) {
			*blank = off;
			off += empty_line(p, n);
			break;
		}
		if (start)
			read_field(r, p, n < SEEN ? n : SEEN);
		end = memchr(p, '\n', n);
		n = end ? (size_t)(end - p) + 1 : n;
		if (!r->note)
			r->digest(r->ctx, p, n);
		off += n;
		start = end != NULL;
	}
	r->m->body = off;
	return rc;
}

/* ---- where it ends ---- */

/* Does something start at off, or nothing follow? *next: where. */
static enum status lands(
	struct split *s, uint64_t off, bool *yes, uint64_t *next, struct err *err)
{
	const char *p;
	size_t n, k;
	unsigned lines;
	enum status rc;

	*yes = false;
	*next = off;
	if (off == s->size) {
		*yes = true;
		return ST_OK;
	}
	rc = look(s, off - 1, &p, &n, err);
	if (rc != ST_OK || *p != '\n')
		return rc;
	p++;
	n--;
	for (lines = 0; lines < 2 && (k = empty_line(p, n)) > 0; lines++) {
		p += k;
		n -= k;
		*next += k;
	}
	*yes = *next == s->size || is_from(p, n);
	return ST_OK;
}

static enum status by_length(struct split *s, const struct reading *r, struct err *err)
{
	struct split_mail *m = r->m;

	if (r->length > s->size - m->body)
		return ST_OK;
	m->end = m->body + r->length;
	return lands(s, m->end, &m->measured, &m->next, err);
}

/* The next From_ line behind an empty one; blank: the one that ended the header. */
static enum status by_lines(
	struct split *s, struct split_mail *m, uint64_t blank, struct err *err)
{
	uint64_t off = m->body;
	bool empty = blank < s->size;
	enum status rc = ST_OK;
	const char *p;
	size_t n;

	while (rc == ST_OK && off < s->size) {
		rc = look(s, off, &p, &n, err);
		if (rc != ST_OK || (empty && is_from(p, n)))
			break;
		empty = empty_line(p, n) > 0;
		if (empty)
			blank = off;
		rc = skip_line(s, &off, err);
	}
	m->next = off;
	m->end = empty ? blank : off;
	return rc;
}

/* Its body to digest(); of one that was measured, are there lines nothing marks? */
static enum status read_body(struct split *s, const struct reading *r, struct err *err)
{
	struct split_mail *m = r->m;
	uint64_t off = m->body;
	enum status rc = ST_OK;
	bool start = true;
	const char *p, *end;
	size_t n;

	while (rc == ST_OK && off < m->end) {
		rc = look(s, off, &p, &n, err);
		if (rc != ST_OK)
			break;
		if (n > m->end - off)
			n = (size_t)(m->end - off);
		if (m->measured) {
			m->wild |= start && is_from(p, n);
			end = memchr(p, '\n', n);
			n = end ? (size_t)(end - p) + 1 : n;
			start = end != NULL;
		}
		r->digest(r->ctx, p, n);
		off += n;
	}
	return rc;
}

enum status split_read(struct split *s, uint64_t at, struct split_mail *m,
	mail_take *digest, void *ctx, struct err *err)
{
	struct reading r = { m, digest, ctx, UINT64_MAX, false };
	uint64_t blank;
	const char *p, *end;
	enum status rc;
	size_t n;

	*m = (struct split_mail){ .at = at, .start = at };
	rc = look(s, at, &p, &n, err);
	if (rc != ST_OK)
		return rc;
	if (n < FROM_N || memcmp(p, from, FROM_N) != 0)
		return err_set(err, ST_RETRY, EX_TEMPFAIL,
			"%s was changed while it was read", s->path);
	n = n < SEEN ? n : SEEN;
	end = memchr(p, '\n', n);
	m->date = date_of(p, end ? (size_t)(end - p) : n);
	rc = skip_line(s, &m->start, err);
	if (rc == ST_OK)
		rc = read_header(s, &r, &blank, err);
	if (rc == ST_OK)
		rc = by_length(s, &r, err);
	if (rc == ST_OK && !m->measured)
		rc = by_lines(s, m, blank, err);
	return rc == ST_OK ? read_body(s, &r, err) : rc;
}

enum status split_first(struct split *s, uint64_t *at, struct err *err)
{
	enum status rc = ST_OK;
	const char *p;
	size_t n, k;

	for (*at = 0; *at < s->size; *at += k) {
		rc = look(s, *at, &p, &n, err);
		if (rc != ST_OK)
			return rc;
		if (n >= FROM_N && memcmp(p, from, FROM_N) == 0)
			return ST_OK;
		k = empty_line(p, n);
		if (!k)
			return err_set(err, ST_DENIED, EX_DATAERR,
				"%s is no mbox file: it does not start with a line "
				"\"From SENDER DATE\"",
				s->path);
	}
	return ST_END;
}

/* ---- the bytes ---- */

static bool is_quoted(const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && i < SEEN - FROM_N && p[i] == '>')
		i++;
	return i && n - i >= FROM_N && memcmp(p + i, from, FROM_N) == 0;
}

enum status split_give(struct split *s, uint64_t start, uint64_t end, bool quoted,
	mail_take *take, void *ctx, struct err *err)
{
	uint64_t off = start;
	bool line = true;
	enum status rc = ST_OK;
	const char *p, *lf;
	size_t n, run, at;

	while (off < end) {
		rc = look(s, off, &p, &n, err);
		if (rc != ST_OK)
			break;
		if (n > end - off)
			n = (size_t)(end - off);
		/* A line whose start may not be whole is looked at anew. */
		for (at = run = 0; at < n; line = lf != NULL) {
			if (line && at && n - at < SEEN && off + n < end)
				break;
			if (quoted && line && is_quoted(p + at, n - at)) {
				take(ctx, p + run, at - run);
				run = at + 1;
			}
			lf = memchr(p + at, '\n', n - at);
			at = lf ? (size_t)(lf - p) + 1 : n;
		}
		take(ctx, p + run, at - run);
		off += at;
	}
	return rc;
}
