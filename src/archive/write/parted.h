/*
 * parted.h: what a message is made of, for its row: counted while it is copied.
 */
#ifndef ARCHIVE_PARTED_H
#define ARCHIVE_PARTED_H

#include "../form/csv.h"

#include <popferry/mime.h>

struct parted {
	struct csv_parted found;
	struct mime *mime;
	uint64_t left; /* bytes that may tell something */
};

void parted_begin(struct parted *d, const struct facts *f);
void parted_put(struct parted *d, const char *p, size_t n);
void parted_end(struct parted *d); /* it was all; found is complete */
void parted_release(struct parted *d);

#endif
