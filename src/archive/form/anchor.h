/*
 * anchor.h: how far the custody log went at least, so that lines which were lost at its
 * end are missed. See FORMAT.
 */
#ifndef ARCHIVE_ANCHOR_H
#define ARCHIVE_ANCHOR_H

#include "custody.h"

#define CUSTODY_LOG "log/custody.jsonl"
#define CUSTODY_MAX ((size_t)1 << 30)

/* What is wrong with a log of so many events, whose line that the anchor tells of has
 * this digest; NULL: nothing. The caller's. */
char *anchor_astray(
	const struct custody_head *a, uint64_t events, const unsigned char sha[DIGEST]);

/* Is a log that ends so what the anchor tells of? a NULL: there is none. ST_DENIED,
 * EX_DATAERR: it is not. */
enum status anchor_compare(int dir, const struct custody_head *a,
	const struct custody_head *last, struct err *err);

/* Under the lock of the log, and behind its line, never before it: it is a lower bound.
 * after_death: what others left of theirs goes. */
enum status anchor_put(
	int dir, const struct custody_head *h, bool after_death, struct err *err);

#endif
