/*
 * disposal.h: messages are taken out of a segment, and a record says so. See FORMAT.
 */
#ifndef ARCHIVE_DISPOSAL_H
#define ARCHIVE_DISPOSAL_H

#include "record.h"

/* A segment's files before or after. */
struct state {
	char file[FILE_NAME_MAX]; /* in segments/ */
	unsigned char sha[DIGEST], idx_sha[DIGEST], tags_sha[DIGEST];
	unsigned char plain_sha[DIGEST]; /* of what is in an encrypted one */
};

/* policy/disposition-N.json */
struct disposition {
	unsigned no;
	char segment[NAME_MAX_SEGMENT];
	struct state before, after;
	struct ranges seqs;
	unsigned char self[DIGEST]; /* of the file */
};
enum status disposition_load(
	struct disposition *d, int dir, unsigned no, struct err *err);
/* The one that is under way. ST_END: none is. */
enum status disposition_pending(struct disposition *d, int dir, struct err *err);
void disposition_free(struct disposition *d);
/* "SLUG-000001.r1.idx" of "SLUG-000001.r1.tar.gz"; of an encrypted one with ".age",
 * ".p7m" */
void state_idx(char out[FILE_NAME_MAX], const struct state *s);

/*
 * Before the next one: what it will say of the files before it has to be what the seal,
 * or the last record of the segment, says of them. Else the record followed from
 * nothing, and what it should follow from was removed. ST_DENIED, EX_DATAERR: it is
 * not. dir is the archive's, idx the name of the index.
 */
struct statement;
enum status disposal_files(const struct disposition *next, int dir,
	const struct statement *seal, const char *idx, struct err *err);
/* Takes these, which ascend, out of their segment. */
enum status disposal_run(struct keeper *k, unsigned segment, const uint64_t *seqs,
	size_t n, const char *authority, struct err *err);

/* What was begun is ended or undone. */
enum status disposal_finish(struct keeper *k, struct err *err);

#endif
