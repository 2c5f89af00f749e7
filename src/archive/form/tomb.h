/*
 * tomb.h: what stays of a message that was disposed of: its place, and its leaf in the
 * tree. See FORMAT.
 */
#ifndef ARCHIVE_TOMB_H
#define ARCHIVE_TOMB_H

#include "layout.h"

enum { TOMB_MAX = 512 };

/* The entry that takes the message's place; its path, from that of the message. */
void tomb_text(struct buf *b, uint64_t seq, const unsigned char leaf[DIGEST],
	unsigned disposition);
void tomb_path(struct buf *b, const char *path);

/* Its line of metadata/merkle.tsv, and the leaf of such a line; false: it is none. */
void tomb_leaf_line(struct buf *b, uint64_t seq, const unsigned char leaf[DIGEST]);
bool tomb_leaf_of(unsigned char leaf[DIGEST], const char *line, size_t n, uint64_t seq);

/* Its row of metadata/messages.csv: path, size and sha are those of the entry. */
void tomb_csv_row(struct buf *b, uint64_t seq, const char *path, size_t size,
	const unsigned char sha[DIGEST], unsigned disposition);

#endif
