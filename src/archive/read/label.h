/*
 * label.h: what a segment's table says of its messages besides their bytes, kept small.
 */
#ifndef ARCHIVE_LABEL_H
#define ARCHIVE_LABEL_H

#include "reader.h"

struct label {
	bool known;
	bool seen, answered, flagged, draft;
	uint32_t number;
	size_t folder, uidl; /* where they start in the text */
	uint64_t listed_size;
	int64_t retrieved;
	struct when date;
	unsigned char sha[DIGEST];
};

/* Of the messages first, first + 1, ... of one segment. */
struct labels {
	struct label *v;
	size_t n;
	uint64_t first;
	char *text;
	size_t text_n, text_cap;
	size_t folder; /* of the row before, whose name mostly comes again */
};

void labels_free(struct labels *l);

/*
 * From a sealed segment (b) with that index, or from the commit log of the open one.
 * After ST_DENIED, EX_DATAERR: those before the damage are known.
 */
enum status labels_sealed(struct labels *l, const struct archive_reader *r,
	const struct sealed *s, struct bytes *b, const struct idx *x, struct err *err);
enum status labels_open(
	struct labels *l, const struct archive_reader *r, struct err *err);

#endif
