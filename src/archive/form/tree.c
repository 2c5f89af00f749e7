/* tree.c: leaves, salts and the edge of the tree. */
#include "tree.h"
#include "hash.h"

#include <popferry/text.h>

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

/* ---- paths ---- */

struct wood {
	const struct tree *before;
	unsigned char (*leaves)[DIGEST];
};

/* Where the left half of n leaves ends: the largest power of two below n. */
static uint64_t half(uint64_t n)
{
	uint64_t k = 1;

	while (k < n - k)
		k *= 2;
	return k;
}

/* One of the whole subtrees that are known of the leaves before. */
static bool known_node(
	const struct tree *t, uint64_t from, uint64_t n, unsigned char out[DIGEST])
{
	uint64_t at = 0, whole;
	size_t i = 0;
	int bit;

	for (bit = 63; bit >= 0 && i < t->edges; bit--) {
		whole = UINT64_C(1) << bit;
		if (!(t->n & whole))
			continue;
		if (at == from && whole == n) {
			memcpy(out, t->edge[i], DIGEST);
			return true;
		}
		at += whole;
		i++;
	}
	return false;
}

/* Of n leaves from there on; at most 64 deep. */
static void subtree(
	const struct wood *w, uint64_t from, uint64_t n, unsigned char out[DIGEST])
{
	unsigned char left[DIGEST], right[DIGEST];

	if (from < w->before->n && known_node(w->before, from, n, out))
		return;
	if (n == 1) {
		memcpy(out, w->leaves[from - w->before->n], DIGEST);
		return;
	}
	subtree(w, from, half(n), left);
	subtree(w, from + half(n), n - half(n), right);
	node(out, left, right);
}

void tree_path(struct tree_path *out, const struct tree *before,
	unsigned char (*leaves)[DIGEST], size_t n, uint64_t index)
{
	const struct wood w = { before, leaves };
	struct {
		uint64_t from, n;
	} other[TREE_PATH];
	uint64_t from = 0, left = before->n + n;
	size_t i;

	out->index = index;
	out->size = left;
	for (out->n = 0; left > 1; out->n++) {
		uint64_t k = half(left);
		bool right = index - from >= k;

		other[out->n].from = right ? from : from + k;
		other[out->n].n = right ? k : left - k;
		from = right ? from + k : from;
		left = right ? left - k : k;
	}
	for (i = 0; i < out->n; i++)
		subtree(&w, other[i].from, other[i].n, out->node[out->n - 1 - i]);
}

bool tree_path_root(const struct tree_path *p, const unsigned char leaf[DIGEST],
	unsigned char out[DIGEST])
{
	uint64_t at = p->index, last = p->size - 1;
	size_t i;

	if (p->index >= p->size)
		return false;
	memcpy(out, leaf, DIGEST);
	for (i = 0; i < p->n && last; i++, at >>= 1, last >>= 1) {
		if (!(at & 1) && at != last) {
			node(out, out, p->node[i]);
			continue;
		}
		node(out, p->node[i], out);
		/* Where there is nothing to the right, the node stands for itself. */
		for (; !(at & 1); last >>= 1)
			at >>= 1;
	}
	return i == p->n && last == 0;
}

/* ---- leaves ---- */

/* seq, space, sha: what both digests have. No printf: there are millions. */
static char *add_row(char *p, const struct idx_row *r)
{
	p = text_number(p, r->seq);
	*p++ = ' ';
	text_hex(p, r->sha, DIGEST);
	return p + 2 * DIGEST;
}

void tree_salt(unsigned char out[SALT], const unsigned char seed[SEED],
	const struct idx_row *r)
{
	unsigned char full[DIGEST];
	char text[SEED + TREE_LINE_MAX];

	memcpy(text, seed, SEED);
	hash_of(text, (size_t)(add_row(text + SEED, r) - text), full);
	memcpy(out, full, SALT);
}

void tree_leaf(unsigned char out[DIGEST], const struct idx_row *r,
	const unsigned char salt[SALT])
{
	char text[TREE_LINE_MAX] = { 0, 'v', '1', ' ' }, *p = add_row(text + 4, r);

	*p++ = ' ';
	p = text_number(p, r->size);
	*p++ = ' ';
	text_hex(p, salt, SALT);
	hash_of(text, (size_t)(p - text) + (size_t)2 * SALT, out);
}

static void add_hex(struct buf *b, const unsigned char *p, size_t n, char behind)
{
	char hex[2 * DIGEST + 1];

	buf_add(b, text_hex(hex, p, n), 2 * n);
	buf_addc(b, behind);
}

void tree_line(struct buf *b, const struct idx_row *r, const unsigned char salt[SALT],
	unsigned char leaf[DIGEST])
{
	tree_leaf(leaf, r, salt);
	buf_addu(b, r->seq, 1);
	buf_addc(b, '\t');
	buf_addu(b, r->size, 1);
	buf_addc(b, '\t');
	add_hex(b, r->sha, DIGEST, '\t');
	add_hex(b, salt, SALT, '\t');
	add_hex(b, leaf, DIGEST, '\n');
}
