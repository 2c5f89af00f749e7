/*
 * idx.h: where each message stands in its segment.
 */
#ifndef ARCHIVE_IDX_H
#define ARCHIVE_IDX_H

#include "member.h"
#include "vault.h"

enum { KEY = 8 };

struct idx_row {
	uint32_t seq, occurrence;
	uint64_t off, len; /* of the member in the file */
	uint64_t in;       /* of the entry's header in the unpacked member */
	uint64_t size;
	unsigned char sha[DIGEST], key[KEY];
	bool gone; /* disposed of: size and sha are those of its tombstone, key is zeros */
};

struct idx {
	struct idx_row *rows; /* seq without gaps */
	size_t n;
	uint64_t tags_off, tags_len; /* of the tag section; 0, 0 in an open segment */
};

/* What finds a message again: of UIDL (NULL: none), occurrence and SHA-256. */
void idx_key(unsigned char out[KEY], const char *uidl, size_t n, uint32_t occurrence,
	const unsigned char sha[DIGEST]);

struct idx_row *idx_add(struct idx *x);
void idx_free(struct idx *x);

/* Below, a segment is named by its stem. Writes dir/STEM.idx, durable. */
enum status idx_write(const struct idx *x, const struct vault *v, int dir,
	const char *segment, struct err *err);
/* ST_END when there is none; ST_DENIED, EX_DATAERR when it makes no sense. */
enum status idx_load(
	struct idx *x, const struct vault *v, const char *segment, struct err *err);

/*
 * One row, and the number of the first, without loading the others; nothing else
 * of the index is looked at. *first is 0 when it cannot be told. seq 0: only that.
 */
bool idx_look(struct idx_row *r, const struct vault *v, const char *segment,
	uint64_t seq, uint64_t *first);

/* Makes it from the segment itself (b), by reading all of it. */
enum status idx_rebuild(struct idx *x, struct bytes *b, enum archive_codec c,
	const char *segment, struct err *err);

/* Loads it, or else rebuilds it. */
enum status idx_get(
	struct idx *x, const struct vault *v, const char *segment, struct err *err);

#endif
