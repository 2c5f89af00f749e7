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

/*
 * What leads from a leaf to the root (RFC 6962, 2.1.1): the other child of each node on
 * the way, the lowest first.
 */
enum { TREE_PATH = 64 };
struct tree_path {
	uint64_t index, size; /* of the leaf, from 0; of the tree */
	size_t n;
	unsigned char node[TREE_PATH][DIGEST];
};

/* Of a leaf among those that were added to `before`; index counts from the first of
 * all. */
void tree_path(struct tree_path *out, const struct tree *before,
	unsigned char (*leaves)[DIGEST], size_t n, uint64_t index);
/* The root that a leaf has by its path; false: there can be no such path. */
bool tree_path_root(const struct tree_path *p, const unsigned char leaf[DIGEST],
	unsigned char out[DIGEST]);

/* metadata/merkle.tsv: the line of names; the line of a message, and its leaf. */
enum { TREE_LINE_MAX = 256 };
extern const char tree_head[];
void tree_line(struct buf *b, const struct idx_row *r, const unsigned char salt[SALT],
	unsigned char leaf[DIGEST]);

#endif
