/*
 * hint.c: what the journal surely does not have.
 *
 * A new message is looked for by its UIDL and by two digests before it is taken, and
 * each time there is no such row. A Bloom filter of all keys says so at once; where it
 * says "perhaps", the database is asked. It grows in layers, each twice as large as the
 * one before, so that it need not know how many keys will come.
 *
 * It is believed only within a transaction, when no other program can write. An empty
 * journal has all its keys in it from the start. Otherwise the rows are read when so
 * many look-ups were in vain that this costs no more than they did.
 */
#include "own.h"

#include <stdlib.h>
#include <string.h>

enum {
	LAYER_KEYS = 8192, /* in the first layer */
	LINE_WORDS = 8,    /* all bits of a key are in one line of the cache */
	KEY_BITS = 16,     /* room; one of 500 keys that are not there seems to be */
	PROBES = 4,
	MISSES_MIN = 64,
};

static size_t layer_lines(unsigned k)
{
	return ((size_t)LAYER_KEYS << k) * KEY_BITS / (64 * LINE_WORDS);
}

static uint64_t *line_of(const struct hints *h, unsigned k, uint64_t key)
{
	return h->layer[k] + (key >> 36 & (layer_lines(k) - 1)) * LINE_WORDS;
}

static void set_bits(uint64_t *line, uint64_t key)
{
	unsigned i;

	for (i = 0; i < PROBES; i++, key >>= 9)
		line[key >> 6 & (LINE_WORDS - 1)] |= 1ULL << (key & 63);
}

static bool has_bits(const uint64_t *line, uint64_t key)
{
	unsigned i;

	for (i = 0; i < PROBES; i++, key >>= 9)
		if (!(line[key >> 6 & (LINE_WORDS - 1)] & 1ULL << (key & 63)))
			return false;
	return true;
}

void hint_forget(struct journal *j)
{
	unsigned k;

	for (k = 0; k < j->hints.layers; k++)
		free(j->hints.layer[k]);
	j->hints = (struct hints){ .layers = 0 };
}

void hint_begin(struct journal *j, int64_t rows)
{
	j->hints.complete |= rows == 0;
}

void hint_add(struct journal *j, uint64_t key)
{
	struct hints *h = &j->hints;

	if (!h->layers || h->n == (size_t)LAYER_KEYS << (h->layers - 1)) {
		if (h->layers == HINT_LAYERS) {
			hint_forget(j);
			return;
		}
		h->layer[h->layers] = xcalloc(
			layer_lines(h->layers) * LINE_WORDS, sizeof(uint64_t));
		h->layers++;
		h->n = 0;
	}
	set_bits(line_of(h, h->layers - 1, key), key);
	h->n++;
}

bool hint_absent(const struct journal *j, uint64_t key)
{
	const struct hints *h = &j->hints;
	unsigned k = h->layers;

	if (!h->complete || !j->open)
		return false;
	while (k--)
		if (has_bits(line_of(h, k, key), key))
			return false;
	return true;
}

/* ---- keys ---- */

static uint64_t mix(uint64_t h)
{
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93u;
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93u;
	return h ^ h >> 32;
}

uint64_t hint_uidl(const char *uidl, size_t n, uint32_t occurrence)
{
	uint64_t h = 0x9e3779b97f4a7c15u ^ occurrence, word = 0;

	for (; n >= sizeof(word); n -= sizeof(word), uidl += sizeof(word)) {
		memcpy(&word, uidl, sizeof(word));
		h = (h ^ word) * 0xff51afd7ed558ccdu;
		h ^= h >> 32;
	}
	word = n;
	while (n--)
		word = word << 8 | (unsigned char)uidl[n];
	return mix((h ^ word) * 0xff51afd7ed558ccdu);
}

uint64_t hint_digest(enum hint_kind kind, const unsigned char digest[DIGEST])
{
	uint64_t h;

	memcpy(&h, digest, sizeof(h));
	return mix(h + kind);
}

void hint_facts(struct journal *j, const struct facts *f)
{
	hint_add(j, hint_digest(HINT_SHA256, f->sha256));
	hint_add(j, hint_digest(HINT_EXACT, f->exact));
	if (f->has_msgid)
		hint_add(j, hint_digest(HINT_MSGID, f->msgid));
}

/* ---- reading what is there ---- */

static void add_digest(struct journal *j, int i, enum hint_kind kind)
{
	size_t n;
	const void *p = col_blob(j, Q_HINTS, i, &n);

	if (p && n == DIGEST)
		hint_add(j, hint_digest(kind, p));
}

static void add_row(struct journal *j)
{
	size_t n;
	const char *uidl = col_blob(j, Q_HINTS, 0, &n);

	if (uidl)
		hint_add(j, hint_uidl(uidl, n, (uint32_t)col_int(j, Q_HINTS, 1)));
	add_digest(j, 2, HINT_SHA256);
	add_digest(j, 3, HINT_EXACT);
	add_digest(j, 4, HINT_MSGID);
}

static enum status read_all(struct journal *j, struct err *err)
{
	enum status rc;

	hint_forget(j);
	rc = query_row(j, Q_HINTS, NOTHING, err);
	while (rc == ST_OK) {
		add_row(j);
		rc = query_next(j, Q_HINTS, err);
	}
	j->hints.complete = rc == ST_END;
	return rc == ST_END ? ST_OK : rc;
}

enum status hint_missed(struct journal *j, struct err *err)
{
	struct hints *h = &j->hints;

	if (h->complete || !j->open || j->last < 0)
		return ST_OK;
	if (++h->misses < MISSES_MIN || h->misses < (uint64_t)j->last / 4)
		return ST_OK;
	return read_all(j, err);
}
