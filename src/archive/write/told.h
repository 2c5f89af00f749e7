/*
 * told.h: what a run told when a segment was closed. See FORMAT.
 */
#ifndef ARCHIVE_TOLD_H
#define ARCHIVE_TOLD_H

#include "../form/listing.h"
#include "../form/segment.h"

struct archive_writer;

struct told {
	struct buf reconcile; /* for the seal */
	struct buf files;     /* lines for Z */
	char *account;        /* the source; NULL: nothing was told */
};

/*
 * Asks the run, and leaves the files of the open segment, if there is one, in open/,
 * synced. last: the run is at its end, so they are all three.
 */
enum status told_make(
	struct told *t, struct archive_writer *w, bool last, struct err *err);
void told_free(struct told *t);

/* Of a file that Z names: its size and digest. False: it names none for this tag. */
struct told_file {
	uint64_t n;
	unsigned char sha[DIGEST];
};
bool told_find(const char *z, enum tag tag, struct told_file *out);
/* Its name in open/. */
void told_name(char out[FILE_NAME_MAX], const char *segment, enum tag tag);

#endif
