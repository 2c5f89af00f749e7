/* rows.c: reading LIST and UIDL as servers write them, and joining them. */
#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "session.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_ROWS = 1024 };

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static size_t blanks(const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && is_blank(p[i]))
		i++;
	return i;
}

/* The digits at p as a number, UINT64_MAX when too large; how many they are. */
static size_t digits(const char *p, size_t n, uint64_t *value)
{
	size_t i;

	*value = 0;
	for (i = 0; i < n && p[i] >= '0' && p[i] <= '9'; i++) {
		uint64_t d = (uint64_t)(p[i] - '0');

		if (*value > (UINT64_MAX - d) / 10)
			*value = UINT64_MAX;
		else
			*value = *value * 10 + d;
	}
	return i;
}

static void add(struct rows *rows, struct row r)
{
	if (rows->n == rows->cap) {
		rows->cap += rows->cap / 2 + FIRST_ROWS;
		rows->p = xreallocarray(rows->p, rows->cap, sizeof(*rows->p));
	}
	if (rows->n && r.number <= rows->p[rows->n - 1].number)
		rows->mixed = true;
	rows->p[rows->n++] = r;
}

static void take_size(struct rows *rows, uint32_t number, const char *p, size_t n)
{
	struct row r = { number, (uint32_t)rows->n, 0 };
	size_t k = digits(p, n, &r.value);

	if (!k || (k < n && !is_blank(p[k])) || r.value > INT64_MAX)
		r.value = UINT64_MAX;
	add(rows, r);
}

static void take_uidl(
	struct rows *rows, struct buf *uidls, uint32_t number, const char *p, size_t n)
{
	struct row r = { number, 0, uidls->n };

	while (n && is_blank(p[n - 1]))
		n--;
	if (n <= POP3_UIDL_MAX && buf_add(uidls, p, n))
		r.n = (uint32_t)n;
	/* Every row has a place of its own, which tells the earlier of two. */
	buf_addc(uidls, '\0');
	add(rows, r);
}

void rows_take(struct rows *rows, struct buf *uidls, const char *line, size_t n)
{
	const char *p = line, *end = line + n;
	uint64_t number;
	size_t k;

	/* Some servers put it in front of every row: quirk Q9. */
	if (n >= 3 && text_same_n(p, "+OK", 3))
		p += 3;
	p += blanks(p, (size_t)(end - p));
	k = digits(p, (size_t)(end - p), &number);
	p += k;
	if (!k || !number || number > INT32_MAX || (p < end && !is_blank(*p))) {
		rows->unreadable++;
		return;
	}
	p += blanks(p, (size_t)(end - p));
	if (uidls)
		take_uidl(rows, uidls, (uint32_t)number, p, (size_t)(end - p));
	else
		take_size(rows, (uint32_t)number, p, (size_t)(end - p));
}

void rows_free(struct rows *rows)
{
	free(rows->p);
	*rows = (struct rows){ NULL, 0, 0, 0, false };
}

/* ---- joining ---- */

static int by_number(const struct row *a, const struct row *b)
{
	return (a->number > b->number) - (a->number < b->number);
}

/* Ties by which came first. */
static int list_order(const void *ap, const void *bp)
{
	const struct row *a = ap, *b = bp;
	int d = by_number(a, b);

	return d ? d : (a->n > b->n) - (a->n < b->n);
}

static int uidl_order(const void *ap, const void *bp)
{
	const struct row *a = ap, *b = bp;
	int d = by_number(a, b);

	return d ? d : (a->value > b->value) - (a->value < b->value);
}

/* Ascending, each number once: the first row that had it counts. */
static void settle(struct rows *rows, int (*order)(const void *, const void *))
{
	size_t i, kept = 0;

	if (!rows->mixed)
		return;
	qsort(rows->p, rows->n, sizeof(*rows->p), order);
	for (i = 0; i < rows->n; i++) {
		if (kept && rows->p[kept - 1].number == rows->p[i].number)
			rows->unreadable++;
		else
			rows->p[kept++] = rows->p[i];
	}
	rows->n = kept;
}

static size_t count_union(const struct rows *a, const struct rows *b)
{
	size_t i = 0, k = 0, n = 0;

	while (i < a->n && k < b->n) {
		int d = by_number(&a->p[i], &b->p[k]);

		i += d <= 0;
		k += d >= 0;
		n++;
	}
	return n + (a->n - i) + (b->n - k);
}

static void join_one(struct pop3_item *it, const struct row *size,
	const struct row *uidl, const char *uidls)
{
	it->number = size ? size->number : uidl->number;
	it->occurrence = 1;
	it->size = size ? size->value : UINT64_MAX;
	it->uidl_n = uidl ? uidl->n : 0;
	it->uidl = it->uidl_n ? uidls + uidl->value : NULL;
}

struct pop3_item *rows_join(struct rows *list, struct rows *uidl, const char *uidls,
	struct pop3_listing *out)
{
	struct pop3_item *items;
	size_t i, k = 0, u = 0;

	settle(list, list_order);
	settle(uidl, uidl_order);
	out->unreadable = list->unreadable + uidl->unreadable;
	out->n = count_union(list, uidl);
	items = xreallocarray(NULL, out->n + 1, sizeof(*items));
	for (i = 0; i < out->n; i++) {
		const struct row *a = k < list->n ? &list->p[k] : NULL;
		const struct row *b = u < uidl->n ? &uidl->p[u] : NULL;
		int d = a && b ? by_number(a, b) : a ? -1 : 1;

		join_one(&items[i], d <= 0 ? a : NULL, d >= 0 ? b : NULL, uidls);
		k += d <= 0;
		u += d >= 0;
		if (items[i].size != UINT64_MAX && out->octets <= INT64_MAX)
			out->octets += items[i].size;
	}
	rows_free(list);
	rows_free(uidl);
	out->items = items;
	return items;
}
