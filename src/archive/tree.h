/*
 * tree.h: the Merkle tree over all messages (RFC 6962), kept as its edge. See FORMAT.
 */
#ifndef ARCHIVE_TREE_H
#define ARCHIVE_TREE_H

#include "idx.h"

enum { SEED = 32, SALT = 16, TREE_EDGE = 32 };

/* The whole subtrees, the largest first: one for each bit that is set in n. */
struct tree {
	uint64_t n;
	size_t edges;
	unsigned char edge[TREE_EDGE][DIGEST];
};

void tree_add(struct tree *t, const unsigned char leaf[DIGEST]);
void tree_root(const struct tree *t, unsigned char out[DIGEST]);
bool tree_same(const struct tree *a, const struct tree *b);

void tree_salt(unsigned char out[SALT], const unsigned char seed[SEED],
	const struct idx_row *r);
void tree_leaf(unsigned char out[DIGEST], const struct idx_row *r,
	const unsigned char salt[SALT]);

/* metadata/merkle.tsv: the line of names; the line of a message. */
enum { TREE_LINE_MAX = 256 };
extern const char tree_head[];
void tree_line(struct buf *b, const struct idx_row *r, const unsigned char salt[SALT]);

#endif
