/*
 * sheet.c: the rows of a table in text, as spreadsheets and people write them.
 *
 * RFC 4180, and more: ';' or a tab may divide, a byte order mark, LF for CRLF, blanks
 * around fields, empty lines and comments. A row that is wrong is read to its end, so
 * that those after it can be judged, too.
 */
#include "own.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdlib.h>
#include <string.h>

void record_init(struct record *r)
{
	*r = (struct record){ .text = xmalloc(SHEET_ROW_MAX) };
}

void record_release(struct record *r)
{
	if (r->text)
		explicit_bzero(r->text, SHEET_ROW_MAX);
	free(r->text);
	*r = (struct record){ 0 };
}

const char *record_field(const struct record *r, size_t i)
{
	return r->text + r->at[i];
}

static void fault(struct record *r, const char *text)
{
	if (!r->fault)
		r->fault = text;
}

static void put(struct record *r, const char *p, size_t n)
{
	/* Room is left for the NUL of each field. */
	if (r->used + n > SHEET_ROW_MAX - SHEET_FIELDS_MAX)
		fault(r, "is longer than 1 MiB");
	else if (r->n_fields < SHEET_FIELDS_MAX) {
		memcpy(r->text + r->used, p, n);
		r->used += n;
	}
}

static bool ends_line(const struct sheet *s)
{
	const char *p = s->p + s->off;

	return s->off == s->n || *p == '\n' ||
		(*p == '\r' && (s->off + 1 == s->n || p[1] == '\n'));
}

static void skip_blanks(struct sheet *s)
{
	while (s->off < s->n &&
		(s->p[s->off] == ' ' || (s->p[s->off] == '\t' && s->separator != '\t')))
		s->off++;
}

/* Behind the opening quote. */
static void take_quoted(struct sheet *s, struct record *r)
{
	for (;;) {
		const char *p = s->p + s->off;
		const char *quote = memchr(p, '"', s->n - s->off);

		if (!quote) {
			s->off = s->n;
			fault(r,
				"has a quote that is never closed; the rest cannot be "
				"read");
			return;
		}
		put(r, p, (size_t)(quote - p));
		s->off = (size_t)(quote + 1 - s->p);
		if (s->off == s->n || s->p[s->off] != '"')
			return;
		put(r, quote, 1);
		s->off++;
	}
}

static void take_plain(struct sheet *s, struct record *r)
{
	size_t from = s->off, end;

	while (!ends_line(s) && s->p[s->off] != s->separator) {
		if (s->p[s->off] == '"')
			fault(r,
				"has a quote within a field; write the field in quotes, "
				"and each quote in it twice");
		if (s->p[s->off] == '\r')
			fault(r, "has a carriage return within a field");
		s->off++;
	}
	for (end = s->off; end > from; end--)
		if (s->p[end - 1] != ' ' && s->p[end - 1] != '\t')
			break;
	put(r, s->p + from, end - from);
}

/* One field; false: the row ends with it. */
static bool take_field(struct sheet *s, struct record *r)
{
	size_t start = r->used;

	skip_blanks(s);
	if (s->off < s->n && s->p[s->off] == '"') {
		s->off++;
		take_quoted(s, r);
		skip_blanks(s);
		if (!ends_line(s) && s->p[s->off] != s->separator)
			fault(r, "has text behind the closing quote of a field");
		while (!ends_line(s) && s->p[s->off] != s->separator)
			s->off++;
	} else {
		take_plain(s, r);
	}
	if (r->used - start > SHEET_FIELD_MAX)
		fault(r, "has a field over 64 KiB; is a quote not closed?");
	if (r->n_fields == SHEET_FIELDS_MAX) {
		fault(r, "has more than 256 fields");
	} else {
		r->at[r->n_fields++] = start;
		r->text[r->used++] = '\0';
	}
	if (ends_line(s))
		return false;
	s->off++;
	return true;
}

static void take_record(struct sheet *s, struct record *r)
{
	const char *text = r->p = s->p + s->off, *at;

	r->line = s->line;
	r->fault = NULL;
	r->n_fields = r->used = 0;
	while (take_field(s, r))
		;
	s->off += s->off < s->n && s->p[s->off] == '\r';
	s->off += s->off < s->n; /* '\n' */
	r->n = (size_t)(s->p + s->off - text);
	for (at = text; (at = memchr(at, '\n', r->n - (size_t)(at - text))); at++)
		s->line++;
	if (memchr(text, '\0', r->n))
		r->fault = "holds a NUL byte";
	else if (!text_is_utf8(text, r->n))
		r->fault = "is not UTF-8; save the table as \"CSV UTF-8\"";
}

/* Spreadsheets write rows of nothing but separators. */
static bool is_empty(const struct record *r)
{
	return r->used == r->n_fields && !r->fault;
}

bool sheet_next(struct sheet *s, struct record *r)
{
	while (s->off < s->n) {
		const char *p = s->p + s->off, *end;

		if (*p == '#') {
			end = memchr(p, '\n', s->n - s->off);
			s->off = end ? (size_t)(end + 1 - s->p) : s->n;
			s->line++;
			continue;
		}
		take_record(s, r);
		if (!is_empty(r))
			return true;
	}
	return false;
}

/* Where the first row begins: behind comments, and lines without anything. */
static size_t first_row(const struct sheet *s)
{
	size_t off = s->off, k;

	while (off < s->n) {
		const char *end = memchr(s->p + off, '\n', s->n - off);
		size_t next = end ? (size_t)(end + 1 - s->p) : s->n;

		for (k = off; k < next && s->p[k] && strchr(",;\t \r\n", s->p[k]); k++)
			;
		if (k < next && s->p[off] != '#')
			break;
		off = next;
	}
	return off;
}

/* What stands most often between the fields of the first row. */
static char find_separator(const struct sheet *s)
{
	static const char candidates[] = ",;\t";
	size_t count[3] = { 0 }, i, best = 0;
	bool quoted = false;
	const char *p;

	for (i = first_row(s); i < s->n && (quoted || s->p[i] != '\n'); i++) {
		if (s->p[i] == '"')
			quoted = !quoted;
		p = quoted || !s->p[i] ? NULL : strchr(candidates, s->p[i]);
		if (p)
			count[p - candidates]++;
	}
	for (i = 1; i < 3; i++)
		if (count[i] > count[best])
			best = i;
	return candidates[best];
}

void sheet_begin(struct sheet *s, const char *p, size_t n)
{
	*s = (struct sheet){ .p = p, .n = n, .line = 1 };
	if (n >= 3 && !memcmp(p, "\xef\xbb\xbf", 3))
		s->off = 3;
	s->separator = find_separator(s);
}
