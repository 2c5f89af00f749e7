/* set.c: which messages of an archive: a bit for each. */
#include "own.h"

#include <stdlib.h>

enum { BITS = 64 };

static size_t words_of(const struct set *t)
{
	return t->top / BITS + 1;
}

void set_init(struct set *t, uint32_t top)
{
	t->top = top;
	t->bits = xcalloc(words_of(t), sizeof(*t->bits));
}

void set_release(struct set *t)
{
	free(t->bits);
	t->bits = NULL;
}

bool set_add(struct set *t, int64_t seq)
{
	if (seq < 0 || seq > (int64_t)t->top)
		return false;
	t->bits[seq / BITS] |= UINT64_C(1) << seq % BITS;
	return true;
}

bool set_has(const struct set *t, uint32_t seq)
{
	return seq <= t->top && t->bits[seq / BITS] >> seq % BITS & 1;
}

void set_join(struct set *t, const struct set *other)
{
	size_t i;

	for (i = 0; i < words_of(t); i++)
		t->bits[i] |= other->bits[i];
}

void set_keep(struct set *t, const struct set *other)
{
	size_t i;

	for (i = 0; i < words_of(t); i++)
		t->bits[i] &= other->bits[i];
}

void set_drop(struct set *t, const struct set *other)
{
	size_t i;

	for (i = 0; i < words_of(t); i++)
		t->bits[i] &= ~other->bits[i];
}

size_t set_count(const struct set *t)
{
	size_t i, n = 0;

	for (i = 0; i < words_of(t); i++)
		n += (size_t)__builtin_popcountll(t->bits[i]);
	return n;
}

uint32_t *set_list(const struct set *t, size_t *n)
{
	uint32_t *out;
	size_t i, k = 0;
	uint64_t w;

	*n = set_count(t);
	out = xmalloc((*n + 1) * sizeof(*out));
	for (i = 0; i < words_of(t); i++)
		for (w = t->bits[i]; w; w &= w - 1)
			out[k++] = (uint32_t)(i * BITS) + (uint32_t)__builtin_ctzll(w);
	return out;
}
