/*
 * reader.h: the reader's inside, shared by reader.c, get.c and verify.c.
 */
#ifndef ARCHIVE_READER_H
#define ARCHIVE_READER_H

#include "../form/commit.h"
#include "../form/open_file.h"
#include "../form/tar.h"

struct sealed {
	unsigned no, revision;
	char name[NAME_MAX_SEGMENT]; /* inside of it */
	char stem[STEM_MAX];         /* of its files: the same, and perhaps ".rN" */
	char file[FILE_NAME_MAX];    /* in segments/ */
	uint64_t first, last;        /* 0 until its index was looked at, loaded */
};

/* An opened member, so that the message after the last one read comes at once. */
struct cursor {
	struct bytes *b;
	bool owned; /* b is closed with it */
	unsigned segment;
	uint64_t off, seq; /* the member, the message read last */
	struct unpacker *u;
	struct entries *s; /* NULL: none */
};
void cursor_close(struct cursor *c);

struct archive_reader {
	char *path;
	int dir, segdir;
	struct policy policy;
	struct vault vault;
	struct sealed *sealed;
	size_t sealed_n;
	unsigned log_no; /* of the commit log in open/, 0: none */
	bool has_open;   /* it commits something that is not sealed */
	bool closed;     /* it may, but is encrypted, and its key is not here */
	struct open_state open;
	char open_name[NAME_MAX_SEGMENT];
	struct open_file log, part, rest;
	struct bytes *part_b, *rest_b; /* what is in the latter two */
	int tmpdir;
	int statedir;          /* where the key of an encrypted open segment is; -1 */
	struct idx idx;        /* of the segment read last */
	size_t idx_of;         /* its place in sealed; sealed_n: none */
	struct sealed *looked; /* a row of its index was looked up */
	struct cursor cursor;
	const struct sealed *lost; /* it could not be opened, and why */
	struct err why;
};

/* ST_DENIED, EX_DATAERR: a segment is missing, by the numbers of the others or by its
 * line. */
enum status reader_whole(const struct archive_reader *r, struct err *err);

/* A run at work has sealed the segment of this file (without its folder) since r was
 * opened, or just seals it. */
bool reader_arrived(const struct archive_reader *r, const char *file);
/* Since then messages were disposed of: files that r knows were replaced. */
bool reader_replaced(const struct archive_reader *r);

/* What is said when a message is asked for that is gone. ST_DENIED; EX_PARTIAL: a
 * record in policy/ tells of that, EX_DATAERR: none does. */
enum status reader_gone(const struct archive_reader *r, uint64_t seq, struct err *err);

enum status reader_open_sealed(struct bytes **b, const struct archive_reader *r,
	const struct sealed *s, struct err *err);
/* The same for one message after the other: what is damaged is not decrypted for
 * each. */
enum status reader_open_once(struct bytes **b, struct archive_reader *r,
	const struct sealed *s, struct err *err);

#endif
