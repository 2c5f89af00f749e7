/*
 * pool.h: pieces of members are compressed on threads, and come back in order.
 *
 * Threads: a pool belongs to one thread; those it starts are nobody's affair.
 */
#ifndef ARCHIVE_POOL_H
#define ARCHIVE_POOL_H

#include "member.h"

#include <popferry/buf.h>

struct pool;

/* threads: 0 is as many as there are processors, but few. They start with the first
 * piece; without any the work is done by the caller. */
void pool_open(struct pool **out, enum archive_codec c, unsigned threads);
/* What is under way is given up. */
void pool_close(struct pool **p);

/* Whether so many bytes more should wait until a piece is taken back. */
bool pool_full(const struct pool *p, size_t n);
/* The bytes under way, as they were given. */
uint64_t pool_bytes(const struct pool *p);

/* Gives an empty buffer all the memory it may need, once: one that grows by and by
 * leaves holes of its former sizes. */
void pool_room(struct buf *b);
/* Takes b's bytes, and leaves it empty with its ceiling, and room. light:
 * packer_light(). */
void pool_give(struct pool *p, struct buf *b, bool last, bool light);
/*
 * The oldest piece, compressed: *b until the next call, and what was said of it.
 * ST_END: none is under way or, without wait, it is not ready.
 */
enum status pool_take(
	struct pool *p, bool wait, const struct buf **b, bool *last, struct err *err);

/*
 * work(ctx, i) for each i under n, on as many threads as pieces are compressed on, the
 * caller among them; returns when all is done.
 */
void pool_each(
	unsigned threads, size_t n, void (*work)(void *ctx, size_t i), void *ctx);

#endif
