/*
 * whole.h: members of the usual size, unpacked at once and walked in memory: what has
 * just been written is read back in a fraction of the time of reading it in pieces.
 */
#ifndef ARCHIVE_WHOLE_H
#define ARCHIVE_WHOLE_H

#include "idx.h"
#include "open_file.h"
#include "pool.h"

/* One member after the other, unpacked in memory that the pool lends. */
struct whole_reader;

void whole_open(struct whole_reader **out, enum archive_codec c, const char *segment,
	struct pool *pool);
/*
 * The member at [off, off + len) of f: raw tar bytes, of entries as tarw_entry() writes
 * them, for the messages of rows in their order; before the first message stands
 * bagit.txt. Each is compared with its row, and paths gets the hash of its path. file
 * goes on with the member's bytes as they stand in the file.
 *
 * One that is larger than a piece of the pool is unpacked frame by frame, if it has
 * such. False, and file as it was: it is too large, or not all of that is so.
 */
bool whole_read(struct whole_reader *w, const struct open_file *f, uint64_t off,
	uint64_t len, uint64_t raw, const struct idx *rows, bool first,
	struct sha *file, uint64_t *paths);
void whole_close(struct whole_reader **w);

#endif
