/*
 * evidence.h: seals and the custody log, compared with the archive.
 */
#ifndef ARCHIVE_EVIDENCE_H
#define ARCHIVE_EVIDENCE_H

#include "reader.h"
#include "segment.h"
#include "statement.h"

struct evidence {
	const struct archive_reader *r;
	struct tally *t;
	/* The digest of a file that is as manifest-sha256.txt says; NULL: of no other. */
	const unsigned char *(*sum)(void *ctx, const char *name);
	void *ctx;
	struct statement *seals; /* those that are there, in their order */
	size_t n;
	bool told; /* the last one's place in the chain is unknown: that was told */
	uint64_t unsealed, events;
};

/*
 * The seal of this segment, compared with the files and with the one before. NULL: it has
 * none, or a damaged one. Good until the next call.
 */
const struct statement *evidence_seal(struct evidence *v, const struct sealed *s);

/* Where the tree of this segment starts; false: nobody knows. */
bool evidence_start(
	const struct evidence *v, const struct statement *seal, struct tree *out);

/* What was read of the segment; facts are NULL when only its index was. */
void evidence_segment(struct evidence *v, const struct statement *seal,
	const struct idx *x, const struct segment_facts *facts, bool started);

/* The custody log, and seals of what is not there. After all segments. */
enum status evidence_end(struct evidence *v, struct err *err);

#endif
