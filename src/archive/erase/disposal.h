/*
 * disposal.h: messages are taken out of a segment, and a record says so. See FORMAT.
 */
#ifndef ARCHIVE_DISPOSAL_H
#define ARCHIVE_DISPOSAL_H

#include "disposition.h"

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
