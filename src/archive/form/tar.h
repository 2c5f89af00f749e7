/*
 * tar.h: tar and zip entries, going out and coming in.
 */
#ifndef ARCHIVE_TAR_H
#define ARCHIVE_TAR_H

#include "member.h"

enum { TAR_BLOCK = 512, TAR_END = 2 * TAR_BLOCK };

/* What an entry of n bytes takes in the tar, its header (no pax) and padding. */
uint64_t tar_room(uint64_t n);
/* The bytes with their padding. */
uint64_t tar_padded(uint64_t n);

/* ---- writing ---- */

typedef enum status tar_take(void *ctx, const void *p, size_t n, struct err *err);

struct tarw;

/* A tar, or a zip, whose bytes go to take(). */
void tarw_open(struct tarw **out, tar_take *take, void *ctx);
enum status tarw_open_zip(
	struct tarw **out, tar_take *take, void *ctx, struct err *err);
/* An entry: its header, then exactly size bytes in any cutting, then its end. */
enum status tarw_entry(
	struct tarw *t, const char *path, uint64_t size, struct err *err);
enum status tarw_data(struct tarw *t, const void *p, size_t n, struct err *err);
enum status tarw_entry_end(struct tarw *t, struct err *err);
/* Writes the end of the archive. */
enum status tarw_end(struct tarw *t, struct err *err);
/* Without tarw_end() nothing more is written. */
void tarw_close(struct tarw **t);

/* ---- reading ---- */

enum { TAR_PATH_MAX = 260 };
/* False unless tarw_entry() writes this block alone before an entry: of that path, and
 * size. */
bool tar_header(const char *block, char path[TAR_PATH_MAX], uint64_t *size);

/* Only plain files with decent relative names come out; all else is damage. */
struct entries;

struct entry {
	const char *path; /* until the next call */
	uint64_t size;    /* as the header claims */
	uint64_t at;      /* where its header stands in the tar; 0 in a zip */
};

/* The unpacker stays the caller's, and must start where an entry starts. */
enum status entries_open(struct entries **out, struct unpacker *u, struct err *err);
enum status entries_open_zip(struct entries **out, struct bytes *b, struct err *err);
/* ST_END after the last; ST_DENIED, EX_DATAERR when damaged. */
enum status entries_next(struct entries *s, struct entry *e, struct err *err);
/* *n is 0 at the end of the entry, which then was whole. */
enum status entries_data(struct entries *s, const char **p, size_t *n, struct err *err);
/* The whole of a small entry: at most b's ceiling. */
enum status entries_text(struct entries *s, struct buf *b, struct err *err);
void entries_close(struct entries **s);

#endif
