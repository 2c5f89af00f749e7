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
/* "SLUG-000001.r1.idx" of "SLUG-000001.r1.tar.gz"; of an encrypted one with ".age", ".p7m" */
void state_idx(char out[FILE_NAME_MAX], const struct state *s);

/* Takes these, which ascend, out of their segment. */
enum status disposal_run(struct keeper *k, unsigned segment, const uint64_t *seqs,
	size_t n, const char *authority, struct err *err);

/* What was begun is ended or undone. */
enum status disposal_finish(struct keeper *k, struct err *err);

#endif
