/*
 * links.c: messages of a tar that have several names. All but the first are hard links,
 * without bytes of their own: so mail servers copy a message to another folder.
 */
#include "packed.h"

#include <popferry/mem.h>

#include <stdlib.h>
#include <string.h>

static const char *name_at(const struct packed *p, uint32_t i)
{
	return p->names.text + p->v[i].name;
}

static int by_name(const void *ap, const void *bp, void *packed)
{
	const uint32_t x = *(const uint32_t *)ap, y = *(const uint32_t *)bp;
	int d = strcmp(name_at(packed, x), name_at(packed, y));

	return d ? d : (x > y) - (x < y);
}

/* The last of that name before i. NULL: there is none. */
static const struct packed_mail *target(
	const struct packed *p, const uint32_t *order, const char *name, uint32_t i)
{
	size_t low = 0, high = p->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int d = strcmp(name_at(p, order[mid]), name);

		if (d < 0 || (d == 0 && order[mid] < i))
			low = mid + 1;
		else
			high = mid;
	}
	if (low == 0 || strcmp(name_at(p, order[low - 1]), name) != 0)
		return NULL;
	return &p->v[order[low - 1]];
}

static void resolve(struct packed *p, const uint32_t *order, uint32_t i)
{
	struct packed_mail *m = &p->v[i];
	const struct packed_mail *to = target(p, order, p->names.text + m->link, i);

	if (!to) {
		m->why = "it is a link to what is no message in there";
		return;
	}
	m->entry = to->entry;
	m->size = to->size;
	m->why = to->why;
	memcpy(m->id, to->id, FILE_ID_BYTES);
}

static int by_entry(const void *ap, const void *bp, void *packed)
{
	const struct packed *p = packed;
	const uint32_t x = *(const uint32_t *)ap, y = *(const uint32_t *)bp;
	uint64_t a = p->v[x].entry, b = p->v[y].entry;

	return a != b ? (a > b) - (a < b) : (x > y) - (x < y);
}

static int by_turn(const void *ap, const void *bp)
{
	const struct packed_mail *a = ap, *b = bp;

	if (a->turn != b->turn)
		return a->turn < b->turn ? -1 : 1;
	return (a->entry > b->entry) - (a->entry < b->entry);
}

void pack_links(struct packed *p)
{
	uint32_t *order, i, n = (uint32_t)p->n;
	bool any = false;

	for (i = 0; i < n; i++)
		any |= p->v[i].link != 0;
	if (!any)
		return;
	order = xcalloc(n, sizeof(*order));
	for (i = 0; i < n; i++)
		order[i] = i;
	qsort_r(order, n, sizeof(*order), by_name, p);
	for (i = 0; i < n; i++)
		if (p->v[i].link)
			resolve(p, order, i);
	/* One entry after the other, and those that are wanted again another time. */
	qsort_r(order, n, sizeof(*order), by_entry, p);
	for (i = 1; i < n; i++)
		if (p->v[order[i]].entry == p->v[order[i - 1]].entry)
			p->v[order[i]].turn = p->v[order[i - 1]].turn + 1;
	qsort(p->v, n, sizeof(*p->v), by_turn);
	free(order);
}
