/*
 * rewrite.h: a segment once more, with tombstones in place of some of its messages.
 *
 * Members in which nothing changes are copied byte for byte.
 */
#ifndef ARCHIVE_REWRITE_H
#define ARCHIVE_REWRITE_H

#include "../form/idx.h"
#include "../form/layout.h"

/* A message that goes. */
struct going {
	uint32_t seq;
	unsigned char leaf[DIGEST];
	char *path; /* of its tombstone, once it is written */
};

struct rewrite {
	const struct policy *policy;
	const char *segment; /* its name */
	struct bytes *from;  /* the file as it is */
	const struct idx *x; /* and its index */
	struct going
		*going; /* by number, all of them in x, none of them gone already */
	size_t n;
	unsigned disposition; /* the number of the record that tells of it */
};

/* The one with this number, or NULL. */
struct going *rewrite_going(const struct rewrite *w, uint64_t seq);

/* Fills in the leaves, from the segment's own table. ST_DENIED, EX_DATAERR: it has
 * none. */
enum status rewrite_leaves(struct rewrite *w, struct err *err);

/* Gives the bytes of the new segment, and its index in *out (idx_free() it in any
 * case). */
enum status rewrite_run(struct rewrite *w, crypt_give *give, void *ctx, struct idx *out,
	struct err *err);

void rewrite_release(struct rewrite *w);

#endif
