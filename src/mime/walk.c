/* walk.c: line by line through the parts. */
#include "own.h"

#include <popferry/mem.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A longer line is no boundary: "--", the boundary, "--", and blanks. */
enum { LINE = BOUNDARY_MAX + 64 };

struct level {
	char boundary[BOUNDARY_MAX];
	size_t n;
	unsigned parts; /* begun so far */
	char number[MIME_NUMBER];
};

enum state { IN_HEAD, IN_LEAF, BETWEEN };

struct mime {
	struct mime_to to;
	void *ctx;
	enum state state;
	struct level stack[MIME_DEPTH_MAX];
	size_t depth;
	unsigned parts;
	struct mime_part part;
	struct buf head;
	struct decoder decoder;
	char line[LINE]; /* the start of the line under way */
	size_t line_n;
	bool long_line; /* it has been passed on, and so is the rest of it */
	char eol[2];    /* of the last line: it belongs to a boundary that follows */
	size_t eol_n;
};

static void data(void *ctx, const char *p, size_t n)
{
	struct mime *m = ctx;

	if (m->to.data)
		m->to.data(m->ctx, &m->part, p, n);
}

static void begin_head(struct mime *m, const char *number)
{
	m->state = IN_HEAD;
	buf_clear(&m->head);
	memset(&m->part, 0, sizeof(m->part));
	snprintf(m->part.number, sizeof(m->part.number), "%.*s", MIME_NUMBER - 1,
		number);
	m->eol_n = 0;
}

static void push(struct mime *m, const struct said *said)
{
	struct level *l = &m->stack[m->depth++];

	snprintf(l->boundary, sizeof(l->boundary), "%s", said->boundary);
	l->n = strlen(l->boundary);
	l->parts = 0;
	memcpy(l->number, m->part.number, sizeof(l->number));
	m->state = BETWEEN;
}

static void end_head(struct mime *m)
{
	struct said said;

	head_said(buf_str(&m->head), m->head.n, &m->part, &said);
	if (m->depth == MIME_DEPTH_MAX)
		m->part.multipart = false;
	/* The outermost multipart has no number, a leaf that stands alone is 1. */
	if (m->depth == 0 && !m->part.multipart)
		snprintf(m->part.number, sizeof(m->part.number), "1");
	m->parts++;
	if (m->to.part)
		m->to.part(m->ctx, &m->part);
	if (m->part.multipart) {
		push(m, &said);
		return;
	}
	m->state = IN_LEAF;
	decoder_init(&m->decoder, said.encoding);
}

static void end_leaf(struct mime *m)
{
	if (m->state == IN_HEAD)
		end_head(m); /* it has no body */
	if (m->state == IN_LEAF)
		decoder_end(&m->decoder, data, m);
	m->state = BETWEEN;
	m->eol_n = 0;
}

static void next_part(struct mime *m, struct level *l)
{
	char number[MIME_NUMBER + 16];

	snprintf(number, sizeof(number), "%s%s%u", l->number, l->number[0] ? "." : "",
		++l->parts);
	begin_head(m, number);
}

/* The level whose boundary the line is, or NULL. *last: the closing one. */
static struct level *boundary(struct mime *m, bool *last)
{
	const char *s = m->line;
	size_t n = m->line_n, i;

	if (m->depth == 0 || n < 3 || s[0] != '-' || s[1] != '-')
		return NULL;
	while (n && (s[n - 1] == ' ' || s[n - 1] == '\t'))
		n--;
	for (i = m->depth; i-- > 0;) {
		struct level *l = &m->stack[i];

		if (n < l->n + 2 || memcmp(s + 2, l->boundary, l->n) != 0)
			continue;
		*last = n == l->n + 4 && memcmp(s + 2 + l->n, "--", 2) == 0;
		if (*last || n == l->n + 2)
			return l;
	}
	return NULL;
}

static bool at_boundary(struct mime *m)
{
	bool last = false;
	struct level *l = boundary(m, &last);

	if (!l || (!last && m->parts >= MIME_PARTS_MAX))
		return false;
	end_leaf(m);
	/* Those inside it end with it, closed or not. */
	m->depth = (size_t)(l - m->stack) + 1;
	if (last)
		m->depth--;
	else
		next_part(m, l);
	return true;
}

static void leaf(struct mime *m, const char *p, size_t n)
{
	decoder_put(&m->decoder, m->eol, m->eol_n, data, m);
	m->eol_n = 0;
	decoder_put(&m->decoder, p, n, data, m);
}

/* Some of a line: all of it, but its end, or a piece of one that is too long. */
static void some(struct mime *m, const char *p, size_t n)
{
	if (m->state == IN_LEAF && m->to.data)
		leaf(m, p, n);
	else if (m->state == IN_HEAD)
		buf_add(&m->head, p, n);
}

static void end_line(struct mime *m, const char *eol, size_t n)
{
	bool whole = !m->long_line;

	if (!whole || !at_boundary(m)) {
		if (m->state == IN_HEAD && whole && m->line_n == 0) {
			/* A blank line before the first field ends nothing. */
			if (m->head.n || m->depth)
				end_head(m);
		} else {
			some(m, m->line, m->line_n);
			if (m->state == IN_HEAD)
				buf_add(&m->head, eol, n);
			memcpy(m->eol, eol, n);
			m->eol_n = m->state == IN_LEAF ? n : 0;
		}
	}
	m->line_n = 0;
	m->long_line = false;
}

static void put_some(struct mime *m, const char *p, size_t n)
{
	if (m->line_n + n <= LINE) {
		memcpy(m->line + m->line_n, p, n);
		m->line_n += n;
		return;
	}
	m->long_line = true;
	some(m, m->line, m->line_n);
	m->line_n = 0;
	/* The last byte may be the CR of the line's end. */
	some(m, p, n - 1);
	m->line[m->line_n++] = p[n - 1];
}

void mime_begin(struct mime **out, const struct mime_to *to, void *ctx)
{
	struct mime *m = xcalloc(1, sizeof(*m));

	m->to = *to;
	m->ctx = ctx;
	buf_init(&m->head, MIME_HEADER_MAX);
	begin_head(m, "");
	*out = m;
}

/* How many bytes at the start of a line are whole lines that nobody wants, and of
 * which none can be a boundary. */
static size_t unwanted(const struct mime *m, const char *p, size_t n)
{
	const char *end = p + n, *stop = p, *lf;

	if (m->state != IN_LEAF || m->to.data || m->line_n || m->long_line)
		return 0;
	while ((stop = memchr(stop, '-', (size_t)(end - stop))) != NULL) {
		if (stop == p || stop[-1] == '\n')
			break;
		stop++;
	}
	n = (size_t)((stop ? stop : end) - p);
	lf = n ? memrchr(p, '\n', n) : NULL;
	return lf ? (size_t)(lf - p) + 1 : 0;
}

void mime_put(void *mime, const char *p, size_t n)
{
	struct mime *m = mime;

	while (n) {
		size_t past = unwanted(m, p, n), k;
		const char *lf;

		p += past;
		n -= past;
		lf = memchr(p, '\n', n);
		k = lf ? (size_t)(lf - p) : n;
		if (k)
			put_some(m, p, k);
		if (!lf)
			return;
		if (m->line_n && m->line[m->line_n - 1] == '\r') {
			m->line_n--;
			end_line(m, "\r\n", 2);
		} else {
			end_line(m, "\n", 1);
		}
		p += k + 1;
		n -= k + 1;
	}
}

void mime_end(struct mime **mp)
{
	struct mime *m = *mp;

	if (!m)
		return;
	if (m->line_n || m->long_line)
		end_line(m, "", 0);
	if (m->state == IN_HEAD)
		end_head(m);
	if (m->state == IN_LEAF) {
		leaf(m, "", 0);
		decoder_end(&m->decoder, data, m);
	}
	buf_free(&m->head);
	free(m);
	*mp = NULL;
}
