/* disposition.h: the record of a disposal, policy/disposition-N.json. See FORMAT. */
#ifndef ARCHIVE_DISPOSITION_H
#define ARCHIVE_DISPOSITION_H

#include "record.h"

struct rewrite;

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
/* ".age" or ".p7m" is the end of its name. */
bool state_encrypted(const struct state *s);
/* The record of what w takes out, of d without its `self`. */
enum status disposition_make(struct buf *b, const struct keeper *k,
	const struct disposition *d, const struct rewrite *w, const char *authority,
	struct err *err);

#endif
