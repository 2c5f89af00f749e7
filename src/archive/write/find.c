/* find.c: a chained hash table over the SHA-256 of messages. */
#include "find.h"
#include "../form/layout.h"

#include <popferry/mem.h>

#include <stdlib.h>
#include <string.h>

/* 16 bytes of SHA-256: to make two messages that agree in them takes 2^64 tries. */
enum { SHA_KEPT = 16, FIRST_HEADS = 1024 };
#define CLAIMED (UINT32_C(1) << 31)
#define NONE UINT32_MAX

struct known {
	unsigned char sha[SHA_KEPT], key[KEY];
	uint32_t seq; /* and CLAIMED */
	uint32_t next;
};

struct find {
	struct known *p;
	uint32_t n, cap;
	uint32_t *heads, heads_n;            /* a power of two */
	uint32_t *early, early_n, early_cap; /* claims of numbers not added yet */
};

void find_new(struct find **out)
{
	*out = xcalloc(1, sizeof(**out));
}

void find_free(struct find **fp)
{
	struct find *f = *fp;

	if (!f)
		return;
	free(f->p);
	free(f->heads);
	free(f->early);
	free(f);
	*fp = NULL;
}

static uint32_t *head_of(const struct find *f, const unsigned char *sha)
{
	uint32_t h;

	memcpy(&h, sha, sizeof(h));
	return &f->heads[h & (f->heads_n - 1)];
}

static void link_in(struct find *f, uint32_t i)
{
	uint32_t *head = head_of(f, f->p[i].sha);

	f->p[i].next = *head;
	*head = i;
}

static void grow_heads(struct find *f)
{
	uint32_t i;

	f->heads_n = f->heads_n ? 2 * f->heads_n : FIRST_HEADS;
	f->heads = xreallocarray(f->heads, f->heads_n, sizeof(*f->heads));
	memset(f->heads, 0xff, f->heads_n * sizeof(*f->heads)); /* NONE */
	for (i = 0; i < f->n; i++)
		link_in(f, i);
}

void find_add(struct find *f, const struct idx_row *r)
{
	struct known *k;

	if (r->gone)
		return; /* nothing is like it any more */
	if (f->n >= f->heads_n)
		grow_heads(f);
	if (f->n == f->cap) {
		f->cap += f->cap / 4 + 1024;
		f->p = xreallocarray(f->p, f->cap, sizeof(*f->p));
	}
	k = &f->p[f->n];
	memcpy(k->sha, r->sha, SHA_KEPT);
	memcpy(k->key, r->key, KEY);
	k->seq = r->seq;
	link_in(f, f->n++);
}

uint64_t find_get(const struct find *f, const unsigned char sha[DIGEST],
	const unsigned char key[KEY])
{
	uint32_t i = f->heads_n ? *head_of(f, sha) : NONE, best = 0;

	for (; i != NONE; i = f->p[i].next) {
		const struct known *k = &f->p[i];

		if ((k->seq & CLAIMED) || memcmp(k->sha, sha, SHA_KEPT) != 0 ||
			(key && memcmp(k->key, key, KEY) != 0))
			continue;
		if (best == 0 || k->seq < best)
			best = k->seq;
	}
	return best;
}

/* False when this number is not in the table. */
static bool claim(struct find *f, uint64_t seq)
{
	uint32_t lo = 0, hi = f->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if ((f->p[mid].seq & ~CLAIMED) < seq)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == f->n || (f->p[lo].seq & ~CLAIMED) != seq)
		return false;
	f->p[lo].seq |= CLAIMED;
	return true;
}

void find_claim(struct find *f, uint64_t seq)
{
	if (seq > SEQ_MAX || claim(f, seq))
		return;
	if (f->early_n == f->early_cap) {
		f->early_cap = f->early_cap ? 2 * f->early_cap : 64;
		f->early = xreallocarray(f->early, f->early_cap, sizeof(*f->early));
	}
	f->early[f->early_n++] = (uint32_t)seq;
}

void find_settle(struct find *f)
{
	uint32_t last = f->n ? f->p[f->n - 1].seq & ~CLAIMED : 0, i, kept = 0;

	for (i = 0; i < f->early_n; i++)
		if (!claim(f, f->early[i]) && f->early[i] > last)
			f->early[kept++] = f->early[i];
	f->early_n = kept;
}
