/* tree.c: leaves, salts and the edge of the tree. */
#include "tree.h"
#include "hash.h"

#include <popferry/text.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char tree_head[] = "seq\tsize\tsha256\tsalt\tleaf\n";

static void node(unsigned char out[DIGEST], const unsigned char left[DIGEST],
	const unsigned char right[DIGEST])
{
	unsigned char text[1 + 2 * DIGEST] = { 1 };

	memcpy(text + 1, left, DIGEST);
	memcpy(text + 1 + DIGEST, right, DIGEST);
	hash_of(text, sizeof(text), out);
}

void tree_add(struct tree *t, const unsigned char leaf[DIGEST])
{
	uint64_t bits;

	memcpy(t->edge[t->edges++], leaf, DIGEST);
	for (bits = t->n++; bits & 1; bits >>= 1) {
		t->edges--;
		node(t->edge[t->edges - 1], t->edge[t->edges - 1], t->edge[t->edges]);
	}
}

void tree_root(const struct tree *t, unsigned char out[DIGEST])
{
	size_t i = t->edges;

	if (i == 0) {
		hash_of("", 0, out);
		return;
	}
	memcpy(out, t->edge[--i], DIGEST);
	while (i--)
		node(out, t->edge[i], out);
}

bool tree_same(const struct tree *a, const struct tree *b)
{
	return a->n == b->n && a->edges == b->edges &&
		memcmp(a->edge, b->edge, a->edges * sizeof(a->edge[0])) == 0;
}

void tree_salt(unsigned char out[SALT], const unsigned char seed[SEED],
	const struct idx_row *r)
{
	unsigned char full[DIGEST], text[SEED + 2 * DIGEST + 16];
	char sha[2 * DIGEST + 1];
	int n;

	memcpy(text, seed, SEED);
	n = snprintf((char *)text + SEED, sizeof(text) - SEED, "%" PRIu32 " %s", r->seq,
		text_hex(sha, r->sha, DIGEST));
	hash_of(text, SEED + (size_t)n, full);
	memcpy(out, full, SALT);
}

void tree_leaf(unsigned char out[DIGEST], const struct idx_row *r,
	const unsigned char salt[SALT])
{
	char sha[2 * DIGEST + 1], hex[2 * SALT + 1], text[TREE_LINE_MAX] = "";
	int n = snprintf(text + 1, sizeof(text) - 1, "v1 %" PRIu32 " %s %" PRIu64 " %s",
		r->seq, text_hex(sha, r->sha, DIGEST), r->size,
		text_hex(hex, salt, SALT));

	hash_of(text, 1 + (size_t)n, out);
}

void tree_line(struct buf *b, const struct idx_row *r, const unsigned char salt[SALT])
{
	char sha[2 * DIGEST + 1], hex[2 * SALT + 1], leaf_hex[2 * DIGEST + 1];
	unsigned char leaf[DIGEST];

	tree_leaf(leaf, r, salt);
	buf_addf(b, "%" PRIu32 "\t%" PRIu64 "\t%s\t%s\t%s\n", r->seq, r->size,
		text_hex(sha, r->sha, DIGEST), text_hex(hex, salt, SALT),
		text_hex(leaf_hex, leaf, DIGEST));
}
