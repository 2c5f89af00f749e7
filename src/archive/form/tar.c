/*
 * tar.c: entries, always the same bytes for the same input.
 *
 * By libarchive, but for writing a plain ustar header: that is one block of a fixed
 * form, and there can be very many.
 */
#include "tar.h"

#include <popferry/mem.h>

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ZIP_BLOCK = 64 * 1024 };

uint64_t tar_padded(uint64_t n)
{
	return (n + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
}

uint64_t tar_room(uint64_t n)
{
	return TAR_BLOCK + tar_padded(n);
}

/* ---- writing ---- */

struct tarw {
	struct archive *a;
	struct archive_entry *e;
	tar_take *take;
	void *ctx;
	bool zip;
	bool plain;      /* this entry is without libarchive: */
	uint64_t left;   /* bytes of it to come */
	size_t padding;  /* and zeros behind them */
	bool ended;      /* what libarchive still writes on closing is dropped */
	struct err *err; /* of the call under way */
	enum status rc;
};

static la_ssize_t give(struct archive *a, void *ctx, const void *p, size_t n)
{
	struct tarw *t = ctx;

	(void)a;
	if (!t->ended && t->rc == ST_OK)
		t->rc = t->take(t->ctx, p, n, t->err);
	return t->rc == ST_OK ? (la_ssize_t)n : -1;
}

/* For a bad format and for a wrong call libarchive takes numbers that are no failure of
 * a disk. */
static bool is_system(int no)
{
	return no > 0 && no != EILSEQ && no != EINVAL;
}

/* The status of the call: the taker's own error, or libarchive's. */
static enum status result(struct tarw *t, bool ok)
{
	if (t->rc != ST_OK)
		return t->rc;
	if (ok)
		return ST_OK;
	if (is_system(archive_errno(t->a)))
		t->rc = err_set(t->err, ST_FATAL, EX_IOERR, "write: %s",
			strerror(archive_errno(t->a)));
	else
		t->rc = err_set(t->err, ST_FATAL, EX_SOFTWARE, "libarchive: %s",
			archive_error_string(t->a) ? archive_error_string(t->a)
						   : "failed");
	return t->rc;
}

static struct tarw *writer_new(void)
{
	struct tarw *t = xcalloc(1, sizeof(*t));

	t->a = archive_write_new();
	t->e = archive_entry_new();
	if (!t->a || !t->e)
		xmemory_gone();
	archive_write_set_bytes_per_block(t->a, 0);
	return t;
}

void tarw_open(struct tarw **out, tar_take *take, void *ctx)
{
	struct tarw *t = writer_new();

	t->take = take;
	t->ctx = ctx;
	archive_write_set_format_pax_restricted(t->a);
	if (archive_write_open(t->a, t, NULL, give, NULL) != ARCHIVE_OK)
		xmemory_gone(); /* opens nothing: only memory can be missing */
	*out = t;
}

enum status tarw_open_zip(struct tarw **out, tar_take *take, void *ctx, struct err *err)
{
	struct tarw *t = writer_new();
	enum status rc;

	t->take = take;
	t->ctx = ctx;
	t->err = err;
	t->zip = true;
	archive_write_set_format_zip(t->a);
	rc = result(t,
		archive_write_set_options(t->a, "zip:compression=deflate") ==
				ARCHIVE_OK &&
			archive_write_open(t->a, t, NULL, give, NULL) == ARCHIVE_OK);
	if (rc < 0)
		tarw_close(&t);
	*out = t;
	return rc;
}

/* The header's fields, with the width of each. */
enum {
	AT_NAME = 0,
	AT_MODE = 100,
	AT_UID = 108,
	AT_GID = 116,
	AT_SIZE = 124,
	AT_MTIME = 136,
	AT_SUM = 148,
	AT_TYPE = 156,
	AT_MAGIC = 257,
	AT_MAJOR = 329,
	AT_MINOR = 337,
	AT_PREFIX = 345,
	NAME_WIDTH = 100,
	PREFIX_WIDTH = 155,
	SIZE_DIGITS = 11,
};
#define USTAR_SIZE_MAX UINT64_C(077777777777)
static const char zeros[TAR_END];

/* Where a path that is too long for the name is cut: before this slash is the prefix.
 * NULL: nowhere. */
static const char *cut_at(const char *path, size_t n)
{
	const char *slash = strchr(path + n - NAME_WIDTH - 1, '/');

	if (slash == path)
		slash = strchr(slash + 1, '/');
	return slash && slash[1] && slash - path <= PREFIX_WIDTH ? slash : NULL;
}

/* The block that libarchive would make; false where it would need a pax header. */
static bool ustar(char block[TAR_BLOCK], const char *path, uint64_t size)
{
	size_t n = strlen(path), i;
	const char *slash = n > NAME_WIDTH ? cut_at(path, n) : NULL,
		   *name = slash ? slash + 1 : path;
	unsigned sum = 0;

	if (size > USTAR_SIZE_MAX || (n > NAME_WIDTH && !slash))
		return false;
	memset(block, 0, TAR_BLOCK);
	memcpy(block + AT_NAME, name, strlen(name));
	if (slash)
		memcpy(block + AT_PREFIX, path, (size_t)(slash - path));
	memcpy(block + AT_MODE, "000444 ", 7);
	memcpy(block + AT_UID, "000000 ", 7);
	memcpy(block + AT_GID, "000000 ", 7);
	memcpy(block + AT_MTIME, "00000000000 ", 12);
	memcpy(block + AT_MAGIC, "ustar\00000", 8);
	memcpy(block + AT_MAJOR, "000000 ", 7);
	memcpy(block + AT_MINOR, "000000 ", 7);
	memset(block + AT_SUM, ' ', 8);
	block[AT_TYPE] = '0';
	for (i = SIZE_DIGITS; i-- > 0; size /= 8)
		block[AT_SIZE + i] = (char)('0' + size % 8);
	block[AT_SIZE + SIZE_DIGITS] = ' ';
	for (i = 0; i < TAR_BLOCK; i++)
		sum += (unsigned char)block[i];
	for (i = 6; i-- > 0; sum /= 8)
		block[AT_SUM + i] = (char)('0' + sum % 8);
	block[AT_SUM + 6] = '\0';
	return true;
}

bool tar_header(const char *block, char path[TAR_PATH_MAX], uint64_t *size)
{
	char again[TAR_BLOCK];
	size_t i;

	snprintf(path, TAR_PATH_MAX, "%.*s%s%.*s", PREFIX_WIDTH, block + AT_PREFIX,
		block[AT_PREFIX] ? "/" : "", NAME_WIDTH, block + AT_NAME);
	for (*size = 0, i = 0; i < SIZE_DIGITS; i++)
		*size = *size * 8 + (unsigned char)(block[AT_SIZE + i] - '0') % 8;
	/* Whatever was no digit is not what comes of it. */
	return ustar(again, path, *size) && memcmp(again, block, TAR_BLOCK) == 0;
}

/* Bytes that libarchive does not see. */
static enum status give_plain(struct tarw *t, const void *p, size_t n)
{
	if (t->rc == ST_OK && n)
		t->rc = t->take(t->ctx, p, n, t->err);
	return t->rc;
}

enum status tarw_entry(struct tarw *t, const char *path, uint64_t size, struct err *err)
{
	char block[TAR_BLOCK];

	t->err = err;
	t->plain = !t->zip && ustar(block, path, size);
	t->left = size;
	t->padding = (size_t)(tar_padded(size) - size);
	if (t->plain)
		return give_plain(t, block, sizeof(block));
	archive_entry_clear(t->e);
	archive_entry_set_pathname(t->e, path);
	archive_entry_set_filetype(t->e, AE_IFREG);
	archive_entry_set_perm(t->e, 0444);
	archive_entry_set_uid(t->e, 0);
	archive_entry_set_gid(t->e, 0);
	archive_entry_set_mtime(t->e, 0, 0);
	archive_entry_set_size(t->e, (la_int64_t)size);
	return result(t, archive_write_header(t->a, t->e) == ARCHIVE_OK);
}

enum status tarw_data(struct tarw *t, const void *p, size_t n, struct err *err)
{
	t->err = err;
	if (n == 0)
		return t->rc;
	if (!t->plain)
		return result(t, archive_write_data(t->a, p, n) == (la_ssize_t)n);
	if (n > t->left)
		return t->rc = err_set(err, ST_FATAL, EX_SOFTWARE,
			       "an entry has more bytes than it should");
	t->left -= n;
	return give_plain(t, p, n);
}

enum status tarw_entry_end(struct tarw *t, struct err *err)
{
	t->err = err;
	if (!t->plain)
		return result(t, archive_write_finish_entry(t->a) == ARCHIVE_OK);
	if (t->left)
		return t->rc = err_set(err, ST_FATAL, EX_SOFTWARE,
			       "an entry has fewer bytes than it should");
	return give_plain(t, zeros, t->padding);
}

enum status tarw_end(struct tarw *t, struct err *err)
{
	bool ok;

	t->err = err;
	if (!t->zip)
		return give_plain(t, zeros, sizeof(zeros));
	ok = archive_write_close(t->a) == ARCHIVE_OK;
	t->ended = true;
	return result(t, ok);
}

void tarw_close(struct tarw **tp)
{
	struct tarw *t = *tp;

	if (!t)
		return;
	t->ended = true;
	archive_write_free(t->a);
	archive_entry_free(t->e);
	free(t);
	*tp = NULL;
}

/* ---- reading ---- */

struct entries {
	struct archive *a;
	struct unpacker *u;
	struct err *err; /* of the call under way */
	enum status rc;  /* of the unpacker */
	uint64_t size, got;
	bool zip; /* then from here, not from the unpacker: */
	struct bytes *b;
	int64_t at, end;
	char in[];
};

static la_ssize_t pull(struct archive *a, void *ctx, const void **p)
{
	struct entries *s = ctx;
	const char *c = NULL;
	size_t n = 0;

	if (s->rc == ST_OK)
		s->rc = unpacker_next(s->u, &c, &n, s->err);
	if (s->rc == ST_OK) {
		*p = c;
		return (la_ssize_t)n;
	}
	archive_set_error(a, EIO, "unpacking failed");
	return -1;
}

static la_ssize_t pull_zip(struct archive *a, void *ctx, const void **p)
{
	struct entries *s = ctx;
	size_t n = ZIP_BLOCK - (size_t)(s->at % ZIP_BLOCK);

	/* What is encrypted is damaged by whole chunks: up to their borders. */
	s->rc = bytes_read(s->b, s->in, n, (uint64_t)s->at, &n, s->err);
	if (s->rc != ST_OK) {
		archive_set_error(a, EIO, "reading failed");
		return -1;
	}
	s->at += (int64_t)n;
	*p = s->in;
	return (la_ssize_t)n;
}

static la_int64_t seek_zip(struct archive *a, void *ctx, la_int64_t off, int whence)
{
	struct entries *s = ctx;

	off += whence == SEEK_CUR ? s->at : whence == SEEK_END ? s->end : 0;
	if (off < 0) {
		archive_set_error(a, EINVAL, "a place before the file");
		return ARCHIVE_FATAL;
	}
	return s->at = off;
}

static enum status damaged(struct entries *s, const char *what)
{
	la_int64_t at = archive_read_header_position(s->a);

	/* Whoever failed to read told the cause, and where. */
	if (s->rc != ST_OK)
		return s->rc;
	if (is_system(archive_errno(s->a)))
		return err_set(s->err, ST_FATAL, EX_IOERR, "libarchive: %s",
			archive_error_string(s->a));
	return err_set(s->err, ST_DENIED, EX_DATAERR,
		"damaged %s near byte %" PRIi64 ": %s", s->zip ? "zip" : "tar",
		at < 0 ? 0 : at, what);
}

static struct entries *reader_new(size_t buffer)
{
	struct entries *s = xcalloc(1, sizeof(*s) + buffer);

	s->a = archive_read_new();
	if (!s->a)
		xmemory_gone();
	return s;
}

enum status entries_open(struct entries **out, struct unpacker *u, struct err *err)
{
	struct entries *s = reader_new(0);
	enum status rc = ST_OK;

	s->u = u;
	s->err = err;
	archive_read_support_format_tar(s->a);
	archive_read_support_format_empty(s->a);
	if (archive_read_open(s->a, s, NULL, pull, NULL) != ARCHIVE_OK) {
		rc = damaged(s, "it cannot be read");
		entries_close(&s);
	}
	*out = s;
	return rc;
}

enum status entries_open_zip(struct entries **out, struct bytes *b, struct err *err)
{
	struct entries *s = reader_new(ZIP_BLOCK);
	enum status rc = ST_OK;

	s->zip = true;
	s->err = err;
	s->b = b;
	s->end = (int64_t)bytes_size(b);
	archive_read_support_format_zip_seekable(s->a);
	archive_read_set_callback_data(s->a, s);
	archive_read_set_read_callback(s->a, pull_zip);
	archive_read_set_seek_callback(s->a, seek_zip);
	if (archive_read_open1(s->a) != ARCHIVE_OK) {
		rc = damaged(s, "it is not a whole zip");
		entries_close(&s);
	}
	*out = s;
	return rc;
}

static bool decent(struct archive_entry *e)
{
	const char *path = archive_entry_pathname(e), *s;

	if (!path || *path == '\0' || *path == '/' || strchr(path, '\\'))
		return false;
	for (s = path; s; s = strchr(s, '/')) {
		s += *s == '/';
		if (strncmp(s, "..", 2) == 0 && (s[2] == '/' || s[2] == '\0'))
			return false;
	}
	return archive_entry_filetype(e) == AE_IFREG && !archive_entry_hardlink(e) &&
		!archive_entry_symlink(e) && archive_entry_size_is_set(e) &&
		archive_entry_size(e) >= 0 && archive_entry_sparse_count(e) == 0;
}

enum status entries_next(struct entries *s, struct entry *out, struct err *err)
{
	struct archive_entry *e;
	int rc;

	s->err = err;
	rc = archive_read_next_header(s->a, &e);
	if (rc == ARCHIVE_EOF)
		return ST_END;
	if (rc != ARCHIVE_OK)
		return damaged(s, archive_error_string(s->a));
	if (!decent(e))
		return damaged(
			s, "an entry that is not a plain file with a relative name");
	out->path = archive_entry_pathname(e);
	out->size = (uint64_t)archive_entry_size(e);
	out->at = s->zip ? 0 : (uint64_t)archive_read_header_position(s->a);
	s->size = out->size;
	s->got = 0;
	return ST_OK;
}

enum status entries_data(struct entries *s, const char **p, size_t *n, struct err *err)
{
	const void *block;
	la_int64_t off;
	int rc;

	s->err = err;
	*n = 0;
	do {
		rc = archive_read_data_block(s->a, &block, n, &off);
		if (rc == ARCHIVE_EOF) {
			*n = 0;
			return s->got == s->size ? ST_OK
						 : damaged(s, "an entry is too short");
		}
		if (rc != ARCHIVE_OK)
			return damaged(s, archive_error_string(s->a));
		if (off != (la_int64_t)s->got || *n > s->size - s->got)
			return damaged(s, "an entry is not as long as it says");
		s->got += *n;
	} while (*n == 0);
	*p = block;
	return ST_OK;
}

enum status entries_text(struct entries *s, struct buf *b, struct err *err)
{
	const char *p;
	size_t n;

	buf_clear(b);
	for (;;) {
		enum status rc = entries_data(s, &p, &n, err);

		if (rc < 0 || n == 0)
			return rc;
		if (!buf_add(b, p, n))
			return damaged(s, "an entry is far too large");
	}
}

void entries_close(struct entries **sp)
{
	struct entries *s = *sp;

	if (!s)
		return;
	archive_read_free(s->a);
	free(s);
	*sp = NULL;
}
