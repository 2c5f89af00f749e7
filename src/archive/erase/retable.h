/*
 * retable.h: the tables of a segment once more, without what they told of messages that
 * go. Each is made twice: to be measured, then to be written.
 */
#ifndef ARCHIVE_RETABLE_H
#define ARCHIVE_RETABLE_H

#include "rewrite.h"
#include "../form/segment.h"

struct retable;

/* Measures them all. x: the new index, of all messages; both must outlive it. */
enum status retable_open(struct retable **out, const struct rewrite *w,
	const struct idx *x, struct err *err);
void retable_close(struct retable **t);

bool retable_has(const struct retable *t, enum tag tag);
uint64_t retable_size(const struct retable *t, enum tag tag);
enum status retable_write(struct retable *t, enum tag tag,
	enum status (*take)(void *ctx, const void *p, size_t n, struct err *err),
	void *ctx, struct err *err);

/* The lines of a table as it is, but for its line of names; row from 0. */
enum status retable_lines(const struct rewrite *w, enum tag tag,
	enum status (*take)(void *ctx, size_t row, char *line, size_t n), void *ctx,
	struct err *err);

#endif
