/*
 * statement.h: what a seal says. See FORMAT.
 */
#ifndef ARCHIVE_STATEMENT_H
#define ARCHIVE_STATEMENT_H

#include "custody.h"
#include "listing.h"
#include "tree.h"

struct statement {
	unsigned no;
	unsigned prev; /* 0: it is the first */
	unsigned char prev_sha[DIGEST];
	uint64_t first, last, count, octets;
	char archive[64]; /* the id */
	unsigned char json_sha[DIGEST];
	char file[FILE_NAME_MAX]; /* of the segment, in segments/ */
	uint64_t bytes;
	unsigned char sha[DIGEST], idx_sha[DIGEST], tags_sha[DIGEST];
	/* Of an encrypted one: what is in it. */
	enum crypt_kind crypt;
	uint64_t plain_bytes;
	unsigned char plain_sha[DIGEST];
	struct tree tree;
	unsigned char root[DIGEST];
	struct custody_head custody;
	struct listing_sums listing; /* of "reconcile" */
	uint64_t listed;
	unsigned char self[DIGEST]; /* of the file, when it was read */
};

/* "seals/SLUG-N.seal.json" */
void statement_name(char out[FILE_NAME_MAX], const struct policy *p, unsigned no);

/* The five values that are written with Z, one a line. */
void statement_told(struct buf *b, const struct custody_head *custody,
	const char *reconcile, int64_t now);

/* The file, from that and what can be known from the archive itself. */
void statement_text(struct buf *b, const struct statement *s, const char *told);

/*
 * Nobody may take the encryption of an archive away, or name others: the seal of this
 * number tells how it was. ST_DENIED, EX_DATAERR: not so. (No seal, nothing to tell.)
 */
enum status statement_vouches(
	int dir, const struct policy *p, unsigned no, struct err *err);

/* ST_END: there is none. ST_DENIED, EX_DATAERR: it is none of ours. */
enum status statement_load(struct statement *s, int dir, const struct policy *p,
	unsigned no, struct err *err);

#endif
