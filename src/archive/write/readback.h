/*
 * readback.h: members of the open segment are read back on a thread as they are
 * written, so that little is left to be compared when it is sealed.
 */
#ifndef ARCHIVE_READBACK_H
#define ARCHIVE_READBACK_H

#include "../form/open_file.h"
#include "../form/pool.h"
#include "../form/segment.h"

struct readback;

/* f, which becomes its own, is the file that grows, from its start; it must not be
 * encrypted. The pool's memory is borrowed. NULL: there is no thread to be had, and all
 * is read when it is sealed. */
struct readback *readback_begin(struct open_file *f, enum archive_codec c,
	const char *segment, struct pool *pool);
/* A member that is whole in the file, behind the one before, and its tar bytes; rows
 * are its messages, with their number, size and digest. */
void readback_give(struct readback *r, const struct idx *rows, uint64_t off,
	uint64_t len, uint64_t raw);
/* Ends after the member under way. *seen: the members from the first on that are good;
 * whatever comes behind them has to be looked at, and to be told of. */
void readback_end(struct readback **r, struct segment_seen *seen);

#endif
