/*
 * check.h: a segment that is compared with all that is known of it; shared by
 * segment.c, which reads the entries, and table.c, which knows the tables.
 */
#ifndef ARCHIVE_CHECK_H
#define ARCHIVE_CHECK_H

#include "segment.h"

/*
 * Entries are expected in order: position 0 is bagit.txt, 1 to n are the
 * messages of the index, then come the tag files.
 */
struct check {
	const char *segment, *file;
	const struct idx *x;
	struct tally *t;
	struct segment_facts *facts;
	struct err *err;
	struct unpacker *u; /* of a group of this codec, for the next one; NULL */
	enum archive_codec codec;
	size_t pos;
	uint64_t from, to; /* bytes of the file that are looked at */
	uint64_t *paths;   /* short hash of each message's path; 0: not seen */
	struct tag_sums sums;
	size_t row; /* of the table that is compared */
	struct buf line;
	/* What mailbag.csv must be by the rows of messages.csv. */
	struct hash *mailbag;
	struct buf mailbag_line;
	unsigned char mailbag_sha[DIGEST];
	bool tree_begun, tree_bad;
	struct listing_reader *listing;
};

enum { CHECK_TEXT_MAX = 64 * 1024, CHECK_LINE_MAX = 512 };

/* Reads the entry through; out is its SHA-256. take may be NULL. */
enum status check_read(struct check *ck, struct entries *s, unsigned char out[DIGEST],
	enum status (*take)(struct check *ck, const char *p, size_t n));

enum status check_wrong(struct check *ck, const char *what);

/* Which tag file should come now: those that a segment may lack are passed over. */
enum tag check_tag_at(struct check *ck, const char *path);
enum status check_tag(
	struct check *ck, struct entries *s, enum tag tag, const char *path);

#endif
