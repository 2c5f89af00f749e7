/* split.c: an mbox file, line by line. */
#include "split.h"

#include <popferry/fs.h>
#include <popferry/mem.h>

#include <stdlib.h>
#include <string.h>

enum { WINDOW = 256 * 1024 };

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

/* ---- messages ---- */

struct reading {
	struct split_mail *m;
	mail_take *digest;
	void *ctx;
	uint64_t length; /* Content-Length; UINT64_MAX: none */
};

/* From m->start up to and with the empty line. *blank: where that stands. */
static enum status read_header(
	struct split *s, struct reading *r, uint64_t *blank, struct err *err)
{
	uint64_t off = r->m->start;
	enum status rc = ST_OK;
	bool start = true, note = false;
	const char *p, *end;
	size_t n;

	*blank = s->size;
	while (rc == ST_OK && off < s->size) {
		rc = look(s, off, &p, &n, err);
		if (rc != ST_OK)
			break;
		if (start && from_blank(p, n)) {
			*blank = off;
			off += from_blank(p, n);
			break;
		}
		if (start)
			from_field(r->m, p, n < SEEN ? n : SEEN, &r->length, &note);
		end = memchr(p, '\n', n);
		n = end ? (size_t)(end - p) + 1 : n;
		if (!note)
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
	for (lines = 0; lines < 2 && (k = from_blank(p, n)) > 0; lines++) {
		p += k;
		n -= k;
		*next += k;
	}
	*yes = *next == s->size || from_is(p, n);
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
		if (rc != ST_OK || (empty && from_is(p, n)))
			break;
		empty = from_blank(p, n) > 0;
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
			m->wild |= start && from_is(p, n);
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
	struct reading r = { m, digest, ctx, UINT64_MAX };
	uint64_t blank;
	const char *p, *end;
	enum status rc;
	size_t n;

	*m = (struct split_mail){ .at = at, .start = at };
	rc = look(s, at, &p, &n, err);
	if (rc != ST_OK)
		return rc;
	if (!from_starts(p, n))
		return err_set(err, ST_RETRY, EX_TEMPFAIL,
			"%s was changed while it was read", s->path);
	n = n < SEEN ? n : SEEN;
	end = memchr(p, '\n', n);
	m->date = from_date(p, end ? (size_t)(end - p) : n);
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
		if (from_starts(p, n))
			return ST_OK;
		k = from_blank(p, n);
		if (!k)
			return err_set(err, ST_DENIED, EX_DATAERR,
				"%s is no mbox file: it does not start with a line "
				"\"From SENDER DATE\"",
				s->path);
	}
	return ST_END;
}

/* ---- the bytes ---- */

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
			if (quoted && line && from_quoted(p + at, n - at)) {
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
