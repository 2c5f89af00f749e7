/*
 * wrap.h: what a segment that is finished becomes before it goes to segments/.
 */
#ifndef ARCHIVE_WRAP_H
#define ARCHIVE_WRAP_H

#include "../form/segment.h"
#include "../form/statement.h"
#include "writer.h"

/* Opens open/NAME anew, so that what is compared is what the file gives to others. */
enum status wrap_check(struct archive_writer *w, const char *name, enum archive_codec c,
	const struct idx *x, struct segment_facts *facts, struct err *err);

/* Writes and checks the zip; its index has no offsets. */
enum status wrap_zip(struct archive_writer *w, const char *name, struct idx *x,
	struct segment_facts *facts, struct err *err);

/*
 * Encrypts it to those who are to read it, as a zip where it is to be one, and compares
 * what can be decrypted. facts->sha is of what is in it; sum gets that of the file, s
 * what its seal has to say of that.
 */
enum status wrap_cipher(struct archive_writer *w, const char *name, struct idx *x,
	struct segment_facts *facts, struct statement *s, unsigned char sum[DIGEST],
	struct err *err);

#endif
