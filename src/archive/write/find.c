/*
 * find.c: a chained hash table over the SHA-256 of messages.
 *
 * A run that has no copy to look for claims what it puts: so what is claimed leaves the
 * table when it is half of it, and takes no memory however many there are.
 */
#include "find.h"
#include "../form/layout.h"

#include <popferry/mem.h>

#include <stdlib.h>
#include <string.h>

/* 16 bytes of SHA-256: to make two messages that agree in them takes 2^64 tries. */
enum { SHA_KEPT = 16, FIRST_HEADS = 1024, CLAIMED_MIN = 1024 };
#define CLAIMED (UINT32_C(1) << 31)
#define NONE UINT32_MAX

struct known {
	unsigned char sha[SHA_KEPT], key[KEY];
	uint32_t seq; /* and CLAIMED */
	uint32_t next;
};

struct span {
	uint32_t first, last;
};

struct find {
	struct known *p;
	uint32_t n, cap;
	uint32_t *heads, heads_n; /* a power of two */
	uint32_t claimed;         /* of those in the table */
	struct span *given;       /* all numbers that were claimed */
	uint32_t given_n, given_cap;
	bool mixed; /* they are not in ascending order */
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
	free(f->given);
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

/* ---- claimed numbers ---- */

static int by_first(const void *ap, const void *bp)
{
	const struct span *a = ap, *b = bp;

	return (a->first > b->first) - (a->first < b->first);
}

static void put_in_order(struct find *f)
{
	uint32_t i, n = 0;

	if (!f->mixed)
		return;
	qsort(f->given, f->given_n, sizeof(*f->given), by_first);
	for (i = 0; i < f->given_n; i++) {
		struct span *at = n ? &f->given[n - 1] : NULL;

		if (!at || f->given[i].first > at->last + 1)
			f->given[n++] = f->given[i];
		else if (f->given[i].last > at->last)
			at->last = f->given[i].last;
	}
	f->given_n = n;
	f->mixed = false;
}

static int by_span(const void *seqp, const void *spanp)
{
	const struct span *span = spanp;
	uint32_t seq = *(const uint32_t *)seqp;

	return (seq > span->last) - (seq < span->first);
}

static bool is_given(struct find *f, uint32_t seq)
{
	put_in_order(f);
	return f->given_n &&
		bsearch(&seq, f->given, f->given_n, sizeof(*f->given), by_span);
}

static void give(struct find *f, uint32_t seq)
{
	struct span *last = f->given_n ? &f->given[f->given_n - 1] : NULL;

	if (last && last->last + 1 == seq) {
		last->last = seq;
		return;
	}
	f->mixed |= last && seq <= last->last;
	if (f->given_n == f->given_cap) {
		f->given_cap += f->given_cap / 2 + 64;
		f->given = xreallocarray(f->given, f->given_cap, sizeof(*f->given));
	}
	f->given[f->given_n++] = (struct span){ seq, seq };
}

/* ---- the table ---- */

void find_add(struct find *f, const struct idx_row *r)
{
	struct known *k;

	/* Nothing is like what is gone any more. */
	if (r->gone || is_given(f, r->seq))
		return;
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

/* In the table, or NULL. */
static struct known *known_of(const struct find *f, uint32_t seq)
{
	uint32_t lo = 0, hi = f->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if ((f->p[mid].seq & ~CLAIMED) < seq)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < f->n && f->p[lo].seq == seq ? &f->p[lo] : NULL;
}

/* Without those that are claimed. */
static void shrink(struct find *f)
{
	uint32_t i, n = 0;

	for (i = 0; i < f->n; i++)
		if (!(f->p[i].seq & CLAIMED))
			f->p[n++] = f->p[i];
	f->n = n;
	f->claimed = 0;
	f->cap = n + n / 4 + 1024;
	f->p = xreallocarray(f->p, f->cap, sizeof(*f->p));
	f->heads_n = FIRST_HEADS / 2;
	while (f->heads_n < n)
		f->heads_n *= 2;
	grow_heads(f);
}

void find_claim(struct find *f, uint64_t seq)
{
	struct known *k;

	if (seq > SEQ_MAX)
		return;
	give(f, (uint32_t)seq);
	k = known_of(f, (uint32_t)seq);
	if (!k)
		return;
	k->seq |= CLAIMED;
	f->claimed++;
	if (f->claimed >= CLAIMED_MIN && f->claimed > f->n / 2)
		shrink(f);
}
