/*
 * find.h: which message is already in the archive. About 36 bytes a message that is not
 * claimed.
 */
#ifndef ARCHIVE_FIND_H
#define ARCHIVE_FIND_H

#include "../form/idx.h"

struct find;

void find_new(struct find **out);
void find_free(struct find **f);
/* In ascending order of seq; what was disposed of is passed over. */
void find_add(struct find *f, const struct idx_row *r);
/* key NULL: any with this SHA-256. The lowest unclaimed seq, or 0. */
uint64_t find_get(const struct find *f, const unsigned char sha[DIGEST],
	const unsigned char key[KEY]);
/* Also for numbers that are added later. */
void find_claim(struct find *f, uint64_t seq);

#endif
