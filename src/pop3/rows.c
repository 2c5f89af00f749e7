/* rows.c: reading LIST and UIDL as servers write them, and joining them. */
#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "session.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_ROWS = 1024 };
_Static_assert(sizeof(struct pop3_item) <= 24, "a million of them are in memory");

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

static void take_size(struct rows *rows, uint32_t number, const char *p, size_t n)
{
	uint64_t size;
	size_t k = digits(p, n, &size);

	if (!k || (k < n && !is_blank(p[k])) || size > INT64_MAX)
		size = UINT64_MAX;
	if (rows->n == rows->cap) {
		rows->cap += rows->cap / 2 + FIRST_ROWS;
		rows->items = xreallocarray(
			rows->items, rows->cap, sizeof(*rows->items));
	}
	if (rows->n && number <= rows->items[rows->n - 1].number)
		rows->mixed = true;
	/* Which row it was, until they are in order. */
	rows->items[rows->n] = (struct pop3_item){
		.number = number, .size = size, .occurrence = (uint32_t)rows->n
	};
	rows->n++;
}

static void keep_apart(struct rows *rows, struct row r)
{
	if (rows->n_apart == rows->cap_apart) {
		rows->cap_apart += rows->cap_apart / 2 + FIRST_ROWS;
		rows->apart = xreallocarray(
			rows->apart, rows->cap_apart, sizeof(*rows->apart));
	}
	rows->apart[rows->n_apart++] = r;
}

static void take_uidl(
	struct rows *rows, struct buf *uidls, uint32_t number, const char *p, size_t n)
{
	struct row r = { number, 0, (uint32_t)uidls->n };
	struct pop3_item *it;

	while (n && is_blank(p[n - 1]))
		n--;
	if (n <= POP3_UIDL_MAX && buf_add(uidls, p, n))
		r.n = (uint32_t)n;
	/* Every row has a place of its own, which tells the earlier of two. */
	buf_addc(uidls, '\0');
	while (rows->next < rows->n && rows->items[rows->next].number < number)
		rows->next++;
	it = rows->next < rows->n ? &rows->items[rows->next] : NULL;
	if (it && it->number == number && !it->uidl) {
		it->uidl = r.at;
		it->uidl_n = r.n;
	} else {
		keep_apart(rows, r);
	}
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
	free(rows->items);
	free(rows->apart);
	*rows = (struct rows){ .n = 0 };
}

/* ---- joining ---- */

/* Ties by which came first. */
static int item_order(const void *ap, const void *bp)
{
	const struct pop3_item *a = ap, *b = bp;

	if (a->number != b->number)
		return a->number > b->number ? 1 : -1;
	return (a->occurrence > b->occurrence) - (a->occurrence < b->occurrence);
}

static int row_order(const void *ap, const void *bp)
{
	const struct row *a = ap, *b = bp;

	if (a->number != b->number)
		return a->number > b->number ? 1 : -1;
	return (a->at > b->at) - (a->at < b->at);
}

/* Ascending, each number once: the first row that had it counts. */
void rows_listed(struct rows *rows)
{
	size_t i, kept = 0;

	if (rows->mixed)
		qsort(rows->items, rows->n, sizeof(*rows->items), item_order);
	for (i = 0; i < rows->n; i++) {
		rows->items[i].occurrence = 1;
		if (kept && rows->items[kept - 1].number == rows->items[i].number)
			rows->unreadable++;
		else
			rows->items[kept++] = rows->items[i];
	}
	rows->n = kept;
	rows->mixed = false;
}

/* Those that came in order are apart, too; then the same. */
static void settle_apart(struct rows *rows)
{
	size_t i, kept = 0;

	for (i = 0; i < rows->n; i++) {
		const struct pop3_item *it = &rows->items[i];

		if (it->uidl)
			keep_apart(
				rows, (struct row){ it->number, it->uidl_n, it->uidl });
	}
	qsort(rows->apart, rows->n_apart, sizeof(*rows->apart), row_order);
	for (i = 0; i < rows->n_apart; i++) {
		if (kept && rows->apart[kept - 1].number == rows->apart[i].number)
			rows->unreadable++;
		else
			rows->apart[kept++] = rows->apart[i];
	}
	rows->n_apart = kept;
}

/* The union of both. */
static void join_apart(struct rows *rows)
{
	struct pop3_item *all;
	size_t i = 0, k = 0, n = 0;

	settle_apart(rows);
	all = xreallocarray(NULL, rows->n + rows->n_apart, sizeof(*all));
	while (i < rows->n || k < rows->n_apart) {
		const struct pop3_item *a = i < rows->n ? &rows->items[i] : NULL;
		const struct row *b = k < rows->n_apart ? &rows->apart[k] : NULL;
		struct pop3_item *it = &all[n++];

		if (a && (!b || a->number <= b->number)) {
			*it = *a;
			i++;
		} else {
			*it = (struct pop3_item){
				.number = b->number, .size = UINT64_MAX, .occurrence = 1
			};
		}
		if (!b || b->number != it->number)
			continue;
		it->uidl = b->at;
		it->uidl_n = b->n;
		k++;
	}
	free(rows->items);
	rows->items = all;
	rows->n = n;
}

struct pop3_item *rows_join(struct rows *rows, struct pop3_listing *out)
{
	struct pop3_item *items;
	size_t i;

	if (rows->n_apart)
		join_apart(rows);
	items = rows->items;
	for (i = 0; i < rows->n; i++)
		if (items[i].size != UINT64_MAX && out->octets <= INT64_MAX)
			out->octets += items[i].size;
	out->items = items;
	out->n = rows->n;
	out->unreadable = rows->unreadable;
	rows->items = NULL;
	rows_free(rows);
	return items;
}
