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

struct spool {
	int dirfd;
	size_t memory; /* the bound */
	atomic_size_t used;
};

struct body {
	struct spool *sp;
	char *p;
	size_t fill, cap; /* cap is what sp->used counts */
	uint64_t filed;
	int fd; /* -1: all in memory */
	struct veil *veil;
};

void spool_open(struct spool **out, int dirfd, size_t memory)
{
	struct spool *sp = xmalloc(sizeof(*sp));

	sp->dirfd = dirfd;
	sp->memory = memory;
	atomic_init(&sp->used, 0);
	*out = sp;
}

void spool_close(struct spool **sp)
{
	if (!*sp)
		return;
	assert(spool_memory(*sp) == 0);
	free(*sp);
	*sp = NULL;
}

size_t spool_memory(const struct spool *sp)
{
	return atomic_load(&sp->used);
}

static bool reserve(struct spool *sp, size_t n)
{
	size_t used = atomic_load(&sp->used);

	do {
		if (n > sp->memory || used > sp->memory - n)
			return false;
	} while (!atomic_compare_exchange_weak(&sp->used, &used, used + n));
	return true;
}

/* Room for `need` bytes in all; doubles while the bound allows it. */
static bool grow(struct body *b, size_t need)
{
	size_t cap = b->cap ? b->cap : FIRST_CAP;

	if (need <= b->cap)
		return true;
	while (cap < need)
		cap *= 2;
	if (cap > SPOOL_SMALL)
		cap = SPOOL_SMALL;
	if (!reserve(b->sp, cap - b->cap)) {
		cap = need;
		if (!reserve(b->sp, cap - b->cap))
			return false;
	}
	b->p = xrealloc(b->p, cap);
	b->cap = cap;
	return true;
}

static void shrink(struct body *b, size_t cap)
{
	if (cap >= b->cap)
		return;
	if (cap) {
		b->p = xrealloc(b->p, cap);
	} else {
		free(b->p);
		b->p = NULL;
	}
	atomic_fetch_sub(&b->sp->used, b->cap - cap);
	b->cap = cap;
}

void body_open(struct body **out, struct spool *sp)
{
	struct body *b = xcalloc(1, sizeof(*b));

	b->sp = sp;
	b->fd = -1;
	*out = b;
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
	if (b->fd < 0 && n <= SPOOL_SMALL - b->fill && grow(b, b->fill + n)) {
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
