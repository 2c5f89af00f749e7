/*
 * repeat.c: which messages share a UIDL.
 *
 * A hash table of item numbers. Its hash is SipHash-2-4 with a random key:
 * the UIDLs are the server's, and one that knew where they fall could make
 * counting them quadratic.
 */
#include <popferry/clock.h>
#include <popferry/mem.h>

#include "session.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct key {
	uint64_t a, b;
};

struct sip {
	uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, int n)
{
	return x << n | x >> (64 - n);
}

static void mix(struct sip *s, int rounds)
{
	while (rounds--) {
		s->v0 += s->v1;
		s->v1 = rotate(s->v1, 13) ^ s->v0;
		s->v0 = rotate(s->v0, 32);
		s->v2 += s->v3;
		s->v3 = rotate(s->v3, 16) ^ s->v2;
		s->v0 += s->v3;
		s->v3 = rotate(s->v3, 21) ^ s->v0;
		s->v2 += s->v1;
		s->v1 = rotate(s->v1, 17) ^ s->v2;
		s->v2 = rotate(s->v2, 32);
	}
}

static void absorb(struct sip *s, uint64_t m)
{
	s->v3 ^= m;
	mix(s, 2);
	s->v0 ^= m;
}

static uint64_t hash(const struct key *key, const char *p, size_t n)
{
	struct sip s = { key->a ^ 0x736f6d6570736575, key->b ^ 0x646f72616e646f6d,
		key->a ^ 0x6c7967656e657261, key->b ^ 0x7465646279746573 };
	uint64_t m, last = (uint64_t)n << 56;

	for (; n >= sizeof(m); n -= sizeof(m), p += sizeof(m)) {
		memcpy(&m, p, sizeof(m));
		absorb(&s, m);
	}
	while (n--)
		last |= (uint64_t)(unsigned char)p[n] << (8 * n);
	absorb(&s, last);
	s.v2 ^= 0xff;
	mix(&s, 4);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

static struct key random_key(void)
{
	struct key key;

	/* Never fails for so few bytes; a kernel without it must not stop us. */
	if (getrandom(&key, sizeof(key), 0) != sizeof(key))
		key = (struct key){ (uint64_t)clock_ms(), (uint64_t)clock_utc() };
	return key;
}

static bool same(
	const char *uidls, const struct pop3_item *a, const struct pop3_item *b)
{
	return a->uidl_n == b->uidl_n &&
		memcmp(uidls + a->uidl, uidls + b->uidl, a->uidl_n) == 0;
}

/* Many servers count up: then no two are the same, and no table is needed. */
static bool is_ascending(const struct pop3_item *items, size_t n, const char *uidls)
{
	const struct pop3_item *last = NULL;
	size_t i;

	for (i = 0; i < n; i++) {
		const struct pop3_item *it = &items[i];

		if (!it->uidl_n)
			continue;
		if (last && it->uidl_n <= last->uidl_n &&
			(it->uidl_n < last->uidl_n ||
				memcmp(uidls + it->uidl, uidls + last->uidl,
					it->uidl_n) <= 0))
			return false;
		last = it;
	}
	return true;
}

size_t repeat_count(struct pop3_item *items, size_t n, const char *uidls)
{
	struct key key;
	size_t i, at, cap = 16, repeated = 0;
	uint32_t *slots; /* number in items + 1 of the last with a UIDL; 0: none */

	if (is_ascending(items, n, uidls))
		return 0;
	key = random_key();
	while (cap < n + n / 2)
		cap *= 2;
	slots = xcalloc(cap, sizeof(*slots));
	for (i = 0; i < n; i++) {
		const struct pop3_item *last;

		if (!items[i].uidl_n)
			continue;
		at = hash(&key, uidls + items[i].uidl, items[i].uidl_n) & (cap - 1);
		while (slots[at] && !same(uidls, &items[slots[at] - 1], &items[i]))
			at = (at + 1) & (cap - 1);
		if (slots[at]) {
			last = &items[slots[at] - 1];
			items[i].occurrence = last->occurrence + 1;
			repeated += last->occurrence == 1 ? 2 : 1;
		}
		slots[at] = (uint32_t)i + 1;
	}
	free(slots);
	return repeated;
}
