/* buf.c: the growing buffer with a ceiling. */
#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAP = 64 };

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf)BUF_INIT(max);
}

void buf_free(struct buf *b)
{
	free(b->p);
	b->p = NULL;
	b->n = b->cap = 0;
}

void buf_clear(struct buf *b)
{
	b->n = 0;
	if (b->p)
		b->p[0] = '\0';
}

/* Room for n more bytes and a NUL. */
static bool make_room(struct buf *b, size_t n)
{
	size_t need, cap;

	if (n > b->max || b->n > b->max - n || n >= SIZE_MAX - b->n)
		return false;
	need = b->n + n + 1;
	if (need <= b->cap)
		return true;
	cap = b->cap ? b->cap : FIRST_CAP;
	while (cap < need)
		cap *= 2;
	if (cap - 1 > b->max)
		cap = b->max + 1;
	b->p = xrealloc(b->p, cap);
	b->cap = cap;
	return true;
}

bool buf_add(struct buf *b, const void *p, size_t n)
{
	if (!make_room(b, n))
		return false;
	if (n)
		memcpy(b->p + b->n, p, n);
	b->n += n;
	b->p[b->n] = '\0';
	return true;
}

bool buf_adds(struct buf *b, const char *s)
{
	return buf_add(b, s, strlen(s));
}

bool buf_addc(struct buf *b, char c)
{
	if (b->cap - b->n < 2 && !make_room(b, 1))
		return false;
	b->p[b->n++] = c;
	b->p[b->n] = '\0';
	return true;
}

bool buf_addu(struct buf *b, uint64_t n, unsigned digits)
{
	char text[2 * NUMBER_MAX];
	char *from = text + NUMBER_MAX, *end = text_number(from, n);

	while (end - from < (int)digits && from > text)
		*--from = '0';
	return buf_add(b, from, (size_t)(end - from));
}

bool buf_addf(struct buf *b, const char *fmt, ...)
{
	size_t room = b->cap - b->n;
	va_list ap, again;
	bool ok;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	/* Most fit at once. */
	n = vsnprintf(room ? b->p + b->n : NULL, room, fmt, ap);
	ok = n >= 0 && make_room(b, (size_t)n);
	if (ok && (size_t)n >= room)
		vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
	if (ok)
		b->n += (size_t)n;
	else if (room)
		b->p[b->n] = '\0';
	va_end(again);
	va_end(ap);
	return ok;
}

void buf_drop(struct buf *b, size_t n)
{
	if (n >= b->n) {
		buf_clear(b);
		return;
	}
	memmove(b->p, b->p + n, b->n - n + 1);
	b->n -= n;
}

const char *buf_str(const struct buf *b)
{
	return b->p ? b->p : "";
}

char *buf_take(struct buf *b)
{
	char *p = b->p ? b->p : xstrdup("");

	b->p = NULL;
	b->n = b->cap = 0;
	return p;
}
