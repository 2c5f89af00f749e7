/* header.c: finds the end of a header block and takes it apart. */
#include "header.h"

#include <string.h>

enum verdict { NO, YES, MAYBE };

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Is this the start of a field? MAYBE: more bytes would tell. */
static enum verdict field_start(const char *p, size_t n, size_t *name_n)
{
	size_t i = 0, max = n < FIELD_NAME_MAX ? n : FIELD_NAME_MAX;

	while (i < max && p[i] > ' ' && p[i] <= '~' && p[i] != ':')
		i++;
	*name_n = i;
	if (i == 0 && max)
		return NO;
	while (i < max && is_blank(p[i]))
		i++;
	if (i == n)
		return MAYBE;
	return i < max && p[i] == ':' ? YES : NO;
}

/* Is this mbox's "From " line, and not a field with a blank before its colon? */
static enum verdict from_start(const char *p, size_t n)
{
	static const char from[5] = "From ";
	size_t i, max = n < FIELD_NAME_MAX ? n : FIELD_NAME_MAX;

	if (memcmp(p, from, max < sizeof(from) ? max : sizeof(from)) != 0)
		return NO;
	for (i = sizeof(from); i < max && is_blank(p[i]);)
		i++;
	if (i >= n)
		return MAYBE;
	return i < max && p[i] == ':' ? NO : YES;
}

void header_begin(struct header *h, const char *p, size_t n, bool plain)
{
	*h = (struct header){ .p = p, .n = n, .plain = plain };
}

/* The next line, without its end. */
static bool next_line(struct header *h, const char **text, size_t *n)
{
	const char *nl, *cr;

	if (h->pos == h->n)
		return false;
	if (h->pos >= h->end) {
		nl = memchr(h->p + h->pos, '\n', h->n - h->pos);
		h->tail = nl ? (size_t)(nl - h->p) : h->n;
		h->end = nl ? h->tail + 1 : h->n;
		while ((nl || h->plain) && h->tail > h->pos &&
			h->p[h->tail - 1] == '\r')
			h->tail--;
	}
	*text = h->p + h->pos;
	cr = h->plain ? NULL : memchr(*text, '\r', h->tail - h->pos);
	*n = cr ? (size_t)(cr - *text) : h->tail - h->pos;
	h->pos = cr ? (size_t)(cr - h->p) + 1 : h->end;
	return true;
}

bool header_next(struct header *h, struct item *it)
{
	const char *text, *more;
	size_t n, more_n, start = h->pos;

	if (!next_line(h, &text, &n))
		return false;
	it->p = text;
	it->kind = ITEM_JUNK;
	it->name_n = it->value_n = 0;
	it->name = it->value = text;
	if (n == 0)
		it->kind = ITEM_BLANK;
	else if (start == 0 && from_start(text, n) == YES)
		it->kind = ITEM_FROM;
	else if (field_start(text, n, &it->name_n) == YES)
		it->kind = ITEM_FIELD;
	if (it->kind == ITEM_FIELD) {
		it->value = (const char *)memchr(text, ':', n) + 1;
		it->value_n = (size_t)(text + n - it->value);
	}
	while (it->kind <= ITEM_JUNK && h->pos < h->n && is_blank(h->p[h->pos])) {
		next_line(h, &more, &more_n);
		it->value_n = (size_t)(more + more_n - it->value);
	}
	it->n = h->pos - start;
	return true;
}

/* Adds what fits, NUL bytes as U+FFFD. */
static void add_text(struct buf *out, const char *p, size_t n)
{
	const char *nul;
	size_t k;

	while (n) {
		nul = memchr(p, '\0', n);
		k = nul ? (size_t)(nul - p) : n;
		if (!buf_add(out, p, k < out->max - out->n ? k : out->max - out->n) ||
			out->n == out->max)
			return;
		if (nul && !buf_adds(out, "\xef\xbf\xbd"))
			return;
		p += nul ? k + 1 : k;
		n -= nul ? k + 1 : k;
	}
}

void field_unfold(const char *p, size_t n, struct buf *out)
{
	struct header h;
	const char *text;
	size_t k, start = out->n;

	header_begin(&h, p, n, false);
	while (next_line(&h, &text, &k)) {
		while (k && is_blank(*text)) {
			text++;
			k--;
		}
		while (k && is_blank(text[k - 1]))
			k--;
		if (k && out->n > start)
			buf_addc(out, ' ');
		add_text(out, text, k);
		if (out->n == out->max)
			break;
	}
	while (out->n > start && is_blank(out->p[out->n - 1]))
		out->p[--out->n] = '\0';
}

void header_scan_init(struct header_scan *s)
{
	*s = (struct header_scan){ .lead = true, .empty = true };
}

/* A blank line ended at `end`. True when it is the separator. */
static bool blank_line(struct header_scan *s, size_t end)
{
	if (!s->lead)
		return true;
	if (!s->blank)
		s->blank = end;
	return false;
}

/*
 * The first text of a line, at s->at, while no header line has come. YES: go
 * on; NO: the header ended at s->blank.
 */
static enum verdict lead_line(struct header_scan *s, const char *p, size_t n)
{
	enum verdict v;
	size_t name_n;

	if (s->at == 0) {
		v = from_start(p, n);
		if (v != NO)
			return v;
	}
	if (s->blank) {
		v = field_start(p + s->at, n - s->at, &name_n);
		if (v != YES)
			return v;
	}
	s->lead = false;
	return YES;
}

/* Behind the text at s->at. *nl is kept between calls, 0 at first. */
static size_t skip_text(
	const struct header_scan *s, const char *p, size_t n, size_t *nl)
{
	const char *from = p + s->at, *q;

	if (*nl <= s->at) {
		q = memchr(from, '\n', n - s->at);
		*nl = q ? (size_t)(q - p) : n;
	}
	if (s->plain)
		return p[*nl - 1] == '\r' ? *nl - 1 : *nl;
	q = memchr(from, '\r', *nl - s->at);
	return q ? (size_t)(q - p) : *nl;
}

bool header_scan(struct header_scan *s, const char *p, size_t n, bool last, size_t *end)
{
	size_t nl = 0, at;
	enum verdict v;

	while (s->at < n) {
		if (p[s->at] == '\r') {
			s->crs++;
			s->at++;
			continue;
		}
		if (p[s->at] == '\n') {
			*end = ++s->at;
			s->crs = 0;
			if (s->empty && blank_line(s, *end))
				return true;
			s->empty = true;
			continue;
		}
		if (s->crs) {
			/* The CRs were lone ones, each the end of a line. */
			at = s->at - s->crs + (s->empty ? 1 : 2);
			*end = at;
			if (at <= s->at && blank_line(s, at))
				return true;
			s->crs = 0;
			s->empty = true;
		}
		if (s->lead && s->empty) {
			v = lead_line(s, p, n);
			*end = s->blank;
			if (v == NO || (v == MAYBE && last && s->blank))
				return true;
			if (v == MAYBE && !last)
				return false;
		}
		s->empty = false;
		s->at = skip_text(s, p, n, &nl);
	}
	*end = s->lead && s->blank ? s->blank : n;
	return last;
}
