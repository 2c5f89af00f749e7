/*
 * pool.h: pieces of members are compressed on threads, and come back in order.
 *
 * Threads: a pool belongs to one thread, but for what it lends; those it starts are
 * nobody's affair.
 */
#ifndef ARCHIVE_POOL_H
#define ARCHIVE_POOL_H

#include "member.h"

#include <popferry/buf.h>

struct pool;

/* threads: 0 is as many as there are processors, but few. They start with the first
 * piece; without any the work is done by the caller. room: what a piece may have. */
void pool_open(struct pool **out, enum archive_codec c, unsigned threads, size_t room);
/* That room. */
size_t pool_piece(const struct pool *p);
/* What is under way is given up. */
void pool_close(struct pool **p);

/* Whether so many bytes more should wait until a piece is taken back. */
bool pool_full(const struct pool *p, size_t n);
/* The bytes under way, as they were given. */
uint64_t pool_bytes(const struct pool *p);

/* Gives an empty buffer without memory that of a piece. Waits for what is lent. */
void pool_room(struct pool *p, struct buf *b);
/* Takes b's bytes with their memory, and leaves it empty. light: packer_light(). */
void pool_give(struct pool *p, struct buf *b, bool last, bool light);
/*
 * The oldest piece, compressed: *b until the next call, and what was said of it.
 * ST_END: none is under way or, without wait, it is not ready.
 */
enum status pool_take(
	struct pool *p, bool wait, const struct buf **b, bool *last, struct err *err);
/* It is needed no more: its memory is for others now. */
void pool_done(struct pool *p);

/*
 * What is packed and written is read back, by one other thread, in the memory in which
 * it was packed: pieces are the largest thing that a process has. That thread borrows,
 * by turns with the caller, and returns, and ends before the pool does. False: it would
 * wait, and pool_lend_no_more() was called.
 */
bool pool_lend(struct pool *p, struct buf *b);
/* Nothing where it has no memory. */
void pool_lent(struct pool *p, struct buf *b);
void pool_lend_no_more(struct pool *p);

/*
 * work(ctx, i) for each i under n, on as many threads as pieces are compressed on, the
 * caller among them; returns when all is done.
 */
void pool_each(
	unsigned threads, size_t n, void (*work)(void *ctx, size_t i), void *ctx);

#endif
