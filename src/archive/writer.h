/*
 * writer.h: the writer's inside, shared by writer.c, recover.c and seal.c.
 */
#ifndef ARCHIVE_WRITER_H
#define ARCHIVE_WRITER_H

#include "commit.h"
#include "find.h"
#include "tar.h"

/* The segment that grows. */
struct open_segment {
	unsigned no;
	char name[NAME_MAX_SEGMENT];
	uint64_t first, next; /* seq of its first message, and of the next one */
	int log, part, rest;  /* -1 until there is such a file */
	struct tarw *tar;
	uint64_t part_len;
	unsigned members;    /* whole ones */
	uint64_t raw_at;     /* tar bytes in whole members */
	struct buf raw;      /* tar bytes of the member under way */
	struct packer *pack; /* takes tar bytes instead of raw, to finish a member */
	size_t rest_len;     /* how much of raw is in .rest */
	unsigned rest_no;    /* the member .rest is of */
	struct buf log_new;  /* records not yet written */
	uint64_t put;        /* messages since the last commit */
	bool part_new, names_new; /* something to sync */
	bool sealing;             /* the log says so */
};

struct archive_writer {
	int dir, opendir, segdir, lock;
	struct policy policy;
	uint64_t segment_bytes, segment_messages;
	char *source;
	bool source_told; /* stands in this segment's log */
	bool broken;      /* what is on disk is unknown until recovery */
	unsigned last_no; /* sealed */
	uint64_t last_seq;
	struct open_segment *seg; /* NULL: none is open */
	struct find *find;
	bool find_loaded;
	struct idx fresh; /* put since the last commit; for find */
};

/* writer.c */
void segment_new(struct archive_writer *w, unsigned no, uint64_t first);
void segment_free(struct archive_writer *w);
/* Ends the member under way: raw goes to .part. */
enum status segment_member(struct archive_writer *w, struct err *err);
enum status segment_commit(struct archive_writer *w, struct err *err);
void writer_close_fd(int *fd);
enum status writer_sync_file(int fd, const char *what, struct err *err);
enum status writer_open_file(
	int *fd, int dir, const char *name, int flags, struct err *err);

/* recover.c: brings open/ to the state of the last commit. */
enum status writer_recover(struct archive_writer *w, struct err *err);

/* seal.c: of a committed segment; afterwards none is open. */
enum status seal_segment(struct archive_writer *w, struct err *err);
/* What is left when the segment stands in segments/ already. */
enum status seal_finish(struct archive_writer *w, const char *segment, struct err *err);

/* recover.c: removes what is ours in open/, save the names of keep (NULL ends). */
enum status open_sweep(
	struct archive_writer *w, const char *const keep[], struct err *err);

#endif
