/*
 * reader.h: the reader's inside, shared by reader.c and verify.c.
 */
#ifndef ARCHIVE_READER_H
#define ARCHIVE_READER_H

#include "commit.h"

struct sealed {
	unsigned no;
	char name[NAME_MAX_SEGMENT];
	char file[FILE_NAME_MAX]; /* in segments/ */
	uint64_t first, last;     /* 0 until its index was loaded */
};

struct archive_reader {
	int dir, segdir;
	struct policy policy;
	struct sealed *sealed;
	size_t sealed_n;
	unsigned log_no; /* of the commit log in open/, 0: none */
	bool has_open;   /* it commits something that is not sealed */
	struct open_state open;
	char open_name[NAME_MAX_SEGMENT];
	int log, part, rest;
	struct idx idx; /* of the segment read last */
	size_t idx_of;  /* its place in sealed; sealed_n: none */
};

enum status reader_open_sealed(int *fd, const struct archive_reader *r,
	const struct sealed *s, struct err *err);

#endif
