/*
 * spool.c: bodies in bounded memory, or in files without names.
 *
 * A body is `filed` bytes in its file followed by `fill` bytes in memory. A
 * small one has no file; a large one keeps, while it is written, what memory
 * it had as a write buffer, so that small pieces cost no system call each.
 *
 * Nothing of a message reaches a disk in clear: a file without a name is gone with
 * the process, but its blocks stay until something else is written there. So each
 * file is encrypted with a key of its own that is only in memory. Nobody can change
 * the file but who can change this process; and what is passed on is compared with
 * its digest. So the cipher needs no tag, and any place can be read.
 */
#include <popferry/crypt.h>
#include <popferry/fs.h>
#include <popferry/mail.h>
#include <popferry/mem.h>

#include "store.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A piece of at least FILE_DIRECT bytes is written as it is. */
enum { FIRST_CAP = 4096, FILE_BLOCK = 64 * 1024, FILE_DIRECT = FILE_BLOCK / 2 };
/* What large ones may have of a spool's memory, those that are kept with it. */
enum { LARGE_PART = 6 };
/*
 * Blocks of this size are the system's, which clears each page of one when it is first
 * touched: that takes longer than all that is done to the text. So some are kept.
 */
enum { BLOCK_LEAST = 128 * 1024, BLOCKS_KEPT = 16 };

/* The beginning of one that is kept. */
struct block {
	size_t cap;
};

struct spool {
	int dirfd;
	size_t memory; /* the bound */
	atomic_size_t used;
	atomic_size_t large; /* of that, in bodies over SPOOL_SMALL */
	_Atomic(struct message_maker *) spare;

	_Atomic(struct block *) kept[BLOCKS_KEPT];
	atomic_size_t kept_bytes;
};

struct body {
	struct spool *sp;
	char *p;
	size_t fill, cap; /* cap is what sp->used counts */
	size_t expect;
	uint64_t filed;
	int fd; /* -1: all in memory */
	struct veil *veil;
};

void spool_open(struct spool **out, int dirfd, size_t memory)
{
	struct spool *sp = xcalloc(1, sizeof(*sp));

	sp->dirfd = dirfd;
	sp->memory = memory;
	atomic_init(&sp->used, 0);
	atomic_init(&sp->large, 0);
	atomic_init(&sp->spare, NULL);
	*out = sp;
}

static struct block *unkeep(struct spool *sp, size_t i)
{
	struct block *b = atomic_exchange(&sp->kept[i], NULL);

	if (b)
		atomic_fetch_sub(&sp->kept_bytes, b->cap);
	return b;
}

void spool_close(struct spool **sp)
{
	size_t i;

	if (!*sp)
		return;
	assert(spool_memory(*sp) == 0);
	maker_free(spool_swap(*sp, NULL));
	for (i = 0; i < BLOCKS_KEPT; i++)
		free(unkeep(*sp, i));
	free(*sp);
	*sp = NULL;
}

size_t spool_memory(const struct spool *sp)
{
	return atomic_load(&sp->used);
}

struct message_maker *spool_swap(struct spool *sp, struct message_maker *mk)
{
	return atomic_exchange(&sp->spare, mk);
}

static bool add_within(atomic_size_t *sum, size_t n, size_t most)
{
	size_t was = atomic_load(sum);

	do {
		if (n > most || was > most - n)
			return false;
	} while (!atomic_compare_exchange_weak(sum, &was, was + n));
	return true;
}

/* What a body with so much memory counts among the large ones. */
static size_t as_large(size_t cap)
{
	return cap > SPOOL_SMALL ? cap : 0;
}

/* From b->cap to cap. */
static bool reserve(struct body *b, size_t cap)
{
	struct spool *sp = b->sp;
	size_t large = as_large(cap) - as_large(b->cap);

	if (large && !add_within(&sp->large, large, sp->memory / LARGE_PART))
		return false;
	if (add_within(&sp->used, cap - b->cap, sp->memory))
		return true;
	atomic_fetch_sub(&sp->large, large);
	return false;
}

/* ---- blocks that are kept ---- */

static void keep(struct spool *sp, struct block *b)
{
	size_t most = sp->memory / LARGE_PART, large = atomic_load(&sp->large), i;
	struct block *none;

	if (large < most && add_within(&sp->kept_bytes, b->cap, most - large)) {
		for (i = 0; i < BLOCKS_KEPT; i++) {
			none = NULL;
			if (atomic_compare_exchange_strong(&sp->kept[i], &none, b))
				return;
		}
		atomic_fetch_sub(&sp->kept_bytes, b->cap);
	}
	free(b);
}

/* Is a better than b, if any, for so much? The smallest that has it, or the largest. */
static bool is_better(const struct block *a, const struct block *b, size_t cap)
{
	if (!b || b->cap < cap)
		return !b || a->cap > b->cap;
	return a->cap >= cap && a->cap < b->cap;
}

static struct block *find_kept(struct spool *sp, size_t cap)
{
	struct block *best = NULL, *b;
	size_t i;

	for (i = 0; i < BLOCKS_KEPT; i++) {
		b = unkeep(sp, i);
		if (b && is_better(b, best, cap)) {
			if (best)
				keep(sp, best);
			best = b;
		} else if (b) {
			keep(sp, b);
		}
	}
	return best;
}

/* A new body's memory, from those that are kept. */
static bool reuse(struct body *b, size_t cap)
{
	struct block *k = NULL;
	size_t has;

	if (!b->p && cap >= BLOCK_LEAST)
		k = find_kept(b->sp, cap);
	if (!k)
		return false;
	has = k->cap;
	if (has / 2 > cap || !reserve(b, has > cap ? has : cap)) {
		keep(b->sp, k);
		return false;
	}
	b->p = has < cap ? xrealloc(k, cap) : (char *)k;
	b->cap = has < cap ? cap : has;
	return true;
}

/* Those that are kept and large bodies share the bound: these come first. */
static void make_way(struct spool *sp)
{
	size_t most = sp->memory / LARGE_PART, i;

	for (i = 0; i < BLOCKS_KEPT; i++)
		if (atomic_load(&sp->kept_bytes) + atomic_load(&sp->large) > most)
			free(unkeep(sp, i));
}

/* ---- bodies ---- */

/* Room for `need` bytes in all; what is expected, or doubling, while bounds allow
 * it. */
static bool grow(struct body *b, size_t need)
{
	size_t cap = b->cap ? b->cap : FIRST_CAP;

	if (need <= b->cap)
		return true;
	while (cap < need)
		cap *= 2;
	if (cap > SPOOL_SMALL && need <= SPOOL_SMALL)
		cap = SPOOL_SMALL;
	if (b->expect >= need)
		cap = b->expect;
	if (reuse(b, cap))
		return true;
	if (!reserve(b, cap)) {
		cap = need;
		if (!reserve(b, cap))
			return false;
	}
	if (as_large(cap))
		make_way(b->sp);
	b->p = xrealloc(b->p, cap);
	b->cap = cap;
	return true;
}

static void release(struct body *b)
{
	struct block *k = (struct block *)(void *)b->p;

	if (b->cap < BLOCK_LEAST) {
		free(b->p);
		return;
	}
	k->cap = b->cap;
	keep(b->sp, k);
}

static void shrink(struct body *b, size_t cap)
{
	if (cap >= b->cap)
		return;
	atomic_fetch_sub(&b->sp->used, b->cap - cap);
	atomic_fetch_sub(&b->sp->large, as_large(b->cap) - as_large(cap));
	if (cap) {
		b->p = xrealloc(b->p, cap);
	} else {
		release(b);
		b->p = NULL;
	}
	b->cap = cap;
}

void body_open(struct body **out, struct spool *sp)
{
	struct body *b = xcalloc(1, sizeof(*b));

	b->sp = sp;
	b->fd = -1;
	*out = b;
}

void body_expect(struct body *b, uint64_t size)
{
	b->expect = size <= b->sp->memory / LARGE_PART ? (size_t)size : 0;
}

uint64_t body_size(const struct body *b)
{
	return b->filed + b->fill;
}

static enum status write_veiled(
	const struct body *b, const char *p, size_t n, struct err *err)
{
	char *block = xmalloc(n < FILE_BLOCK ? n : FILE_BLOCK);
	enum status rc = ST_OK;
	size_t at, k;

	for (at = 0; rc == ST_OK && at < n; at += k) {
		k = n - at < FILE_BLOCK ? n - at : FILE_BLOCK;
		veil_apply(b->veil, b->filed + at, p + at, block, k);
		rc = fs_write(b->fd, block, k, err);
	}
	free(block);
	return rc;
}

static enum status to_file(struct body *b, const char *p, size_t n, struct err *err)
{
	enum status rc = write_veiled(b, p, n, err);

	if (rc != ST_OK) {
		/* What was written in part does not count: go back. */
		lseek(b->fd, (off_t)b->filed, SEEK_SET);
		return err_note(err, "spool: temporary file of a message");
	}
	b->filed += n;
	return ST_OK;
}

static enum status open_file(struct body *b, struct err *err)
{
	enum status rc = veil_open(&b->veil, err);

	if (rc == ST_OK)
		rc = fs_tmpfile(&b->fd, b->sp->dirfd, err);
	if (rc != ST_OK) {
		veil_close(&b->veil);
		return err_note(err, "spool");
	}
	return ST_OK;
}

static enum status flush(struct body *b, struct err *err)
{
	enum status rc = b->fill ? to_file(b, b->p, b->fill, err) : ST_OK;

	if (rc == ST_OK)
		b->fill = 0;
	return rc;
}

enum status body_write(struct body *b, const char *p, size_t n, struct err *err)
{
	enum status rc;

	if (n == 0)
		return ST_OK;
	if (b->fd < 0 && grow(b, b->fill + n)) {
		memcpy(b->p + b->fill, p, n);
		b->fill += n;
		return ST_OK;
	}
	if (b->fd < 0) {
		rc = open_file(b, err);
		if (rc != ST_OK)
			return rc;
	}
	if (n <= b->cap - b->fill && b->cap <= FILE_BLOCK && n < FILE_DIRECT) {
		memcpy(b->p + b->fill, p, n);
		b->fill += n;
		return ST_OK;
	}
	rc = flush(b, err);
	if (rc != ST_OK)
		return rc;
	shrink(b, FILE_BLOCK);
	if (n > b->cap || n >= FILE_DIRECT)
		return to_file(b, p, n, err);
	memcpy(b->p, p, n);
	b->fill = n;
	return ST_OK;
}

enum status body_seal(struct body *b, struct err *err)
{
	enum status rc;

	if (b->fd < 0) {
		/* What is left of a block was not touched, or is kept with it. */
		if (b->cap < BLOCK_LEAST || b->fill < b->cap / 2)
			shrink(b, b->fill);
		return ST_OK;
	}
	rc = flush(b, err);
	if (rc == ST_OK)
		shrink(b, 0);
	return rc;
}

enum status body_read(const struct body *b, uint64_t off, char *scratch, size_t cap,
	const char **p, size_t *n, struct err *err)
{
	uint64_t left;
	ssize_t got;

	*n = 0;
	*p = scratch;
	if (off >= body_size(b))
		return ST_OK;
	if (off >= b->filed) {
		*p = b->p + (off - b->filed);
		*n = b->fill - (size_t)(off - b->filed);
		return ST_OK;
	}
	left = b->filed - off;
	if (cap > left)
		cap = (size_t)left;
	got = fs_pread(b->fd, scratch, cap, off);
	if (got < 0) {
		err_sys(err, ST_FATAL, "spool: cannot read a message back");
		if (err)
			err->exit = EX_IOERR;
		return ST_FATAL;
	}
	if ((size_t)got < cap)
		return err_set(err, ST_FATAL, EX_IOERR,
			"spool: the temporary file of a message is cut short: "
			"has something else changed it?");
	veil_apply(b->veil, off, scratch, scratch, cap);
	*n = cap;
	return ST_OK;
}

void body_free(struct body **b)
{
	if (!*b)
		return;
	if ((*b)->fd >= 0)
		close((*b)->fd);
	veil_close(&(*b)->veil);
	shrink(*b, 0);
	free(*b);
	*b = NULL;
}
