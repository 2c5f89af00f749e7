/* member.c: gzip members, zstd frames, plain runs; packing and unpacking. */
#include "member.h"

#include <popferry/fs.h>
#include <popferry/mem.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

enum {
	/* What the compressor is fed at a time. Its output could depend on it,
	 * so this number is part of what makes segments the same. */
	FEED = 128 * 1024,
	CHUNK = 64 * 1024,
	GZ_LEVEL = 6,
	GZ_WRAP = 15 + 16, /* window 2^15, gzip header */
	GZ_OS_UNKNOWN = 255,
	ZST_LEVEL = 3,
	ZST_WINDOW = 22, /* written: the size of a member, so that memory stays small */
	ZST_READ_MAX = 27,   /* read: what plain tools accept */
	MARKS_MAX = 1 << 20, /* more members than a segment can have */
};

uint64_t member_bytes(enum archive_codec c)
{
	return (c == ARCHIVE_ZST ? 4u : 1u) * 1024u * 1024u;
}

/* ---- packing ---- */

struct packer {
	enum archive_codec codec;
	int fd;
	uint64_t len;
	z_stream z;
	gz_header gz;
	ZSTD_CCtx *zst;
	size_t in_n;
	char in[FEED], out[FEED];
};

static void begin_gz(struct packer *p)
{
	int rc = deflateInit2(
		&p->z, GZ_LEVEL, Z_DEFLATED, GZ_WRAP, 8, Z_DEFAULT_STRATEGY);

	p->gz.os = GZ_OS_UNKNOWN;
	if (rc == Z_OK)
		rc = deflateSetHeader(&p->z, &p->gz);
	if (rc != Z_OK)
		xmemory_gone(); /* fixed arguments: only memory can be missing */
}

static void begin_zst(struct packer *p, uint64_t raw)
{
	size_t bad = 0;

	p->zst = ZSTD_createCCtx();
	if (!p->zst)
		xmemory_gone();
	bad |= ZSTD_CCtx_setParameter(p->zst, ZSTD_c_compressionLevel, ZST_LEVEL);
	bad |= ZSTD_CCtx_setParameter(p->zst, ZSTD_c_windowLog, ZST_WINDOW);
	bad |= ZSTD_CCtx_setParameter(p->zst, ZSTD_c_checksumFlag, 1);
	/* The size makes the window no larger than the member, and stands in the
	 * frame for readers. */
	bad |= ZSTD_CCtx_setPledgedSrcSize(p->zst, raw);
	if (ZSTD_isError(bad))
		xmemory_gone();
}

void packer_begin(struct packer **out, enum archive_codec c, int fd, uint64_t raw)
{
	struct packer *p = xcalloc(1, sizeof(*p));

	p->codec = c;
	p->fd = fd;
	if (c == ARCHIVE_GZ)
		begin_gz(p);
	else if (c == ARCHIVE_ZST)
		begin_zst(p, raw);
	*out = p;
}

static enum status flush_out(struct packer *p, size_t n, struct err *err)
{
	p->len += n;
	return fs_write(p->fd, p->out, n, err);
}

static enum status feed_gz(struct packer *p, bool last, struct err *err)
{
	enum status rc = ST_OK;
	int z;

	p->z.next_in = (unsigned char *)p->in;
	p->z.avail_in = (unsigned)p->in_n;
	do {
		p->z.next_out = (unsigned char *)p->out;
		p->z.avail_out = sizeof(p->out);
		z = deflate(&p->z, last ? Z_FINISH : Z_NO_FLUSH);
		if (z == Z_STREAM_ERROR)
			return err_set(err, ST_FATAL, EX_SOFTWARE, "zlib: deflate");
		rc = flush_out(p, sizeof(p->out) - p->z.avail_out, err);
	} while (rc == ST_OK && p->z.avail_out == 0);
	return rc;
}

static enum status feed_zst(struct packer *p, bool last, struct err *err)
{
	ZSTD_inBuffer in = { p->in, p->in_n, 0 };
	enum status rc = ST_OK;
	size_t left;

	do {
		ZSTD_outBuffer out = { p->out, sizeof(p->out), 0 };

		left = ZSTD_compressStream2(
			p->zst, &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
		if (ZSTD_isError(left))
			return err_set(err, ST_FATAL, EX_SOFTWARE, "zstd: %s",
				ZSTD_getErrorName(left));
		rc = flush_out(p, out.pos, err);
	} while (rc == ST_OK && (last ? left != 0 : in.pos < in.size));
	return rc;
}

static enum status feed(struct packer *p, bool last, struct err *err)
{
	enum status rc;

	if (p->codec == ARCHIVE_GZ) {
		rc = feed_gz(p, last, err);
	} else if (p->codec == ARCHIVE_ZST) {
		rc = feed_zst(p, last, err);
	} else {
		p->len += p->in_n;
		rc = fs_write(p->fd, p->in, p->in_n, err);
	}
	p->in_n = 0;
	return rc;
}

enum status packer_put(struct packer *p, const void *d, size_t n, struct err *err)
{
	const char *s = d;
	enum status rc;

	while (n) {
		size_t k = sizeof(p->in) - p->in_n;

		if (k > n)
			k = n;
		memcpy(p->in + p->in_n, s, k);
		p->in_n += k;
		s += k;
		n -= k;
		if (p->in_n == sizeof(p->in) && (rc = feed(p, false, err)) < 0)
			return rc;
	}
	return ST_OK;
}

enum status packer_end(struct packer **p, uint64_t *len, struct err *err)
{
	enum status rc = feed(*p, true, err);

	*len = (*p)->len;
	packer_drop(p);
	return rc;
}

void packer_drop(struct packer **pp)
{
	struct packer *p = *pp;

	if (!p)
		return;
	if (p->codec == ARCHIVE_GZ)
		deflateEnd(&p->z);
	ZSTD_freeCCtx(p->zst);
	free(p);
	*pp = NULL;
}

/* ---- unpacking ---- */

struct unpacker {
	enum archive_codec codec;
	int fd;
	uint64_t at, end; /* in the file: next to be read, and the end */
	uint64_t raw;     /* bytes given so far */
	bool fresh;       /* the next byte starts a member */
	bool full;        /* the last output was cut by the buffer's end */
	bool want_marks;
	struct mark *marks;
	size_t marks_n;
	z_stream z;
	ZSTD_DCtx *zst;
	size_t in_pos, in_n;
	const char *rest; /* skip: of the piece skipped into */
	size_t rest_n;
	char in[CHUNK], out[FEED];
};

void unpacker_open(struct unpacker **out, enum archive_codec c, int fd, uint64_t off,
	uint64_t len, bool marks)
{
	struct unpacker *u = xcalloc(1, sizeof(*u));

	u->codec = c;
	u->fd = fd;
	u->at = off;
	u->end = off + len;
	u->fresh = true;
	u->want_marks = marks;
	if (c == ARCHIVE_GZ && inflateInit2(&u->z, GZ_WRAP) != Z_OK)
		xmemory_gone();
	if (c == ARCHIVE_ZST) {
		u->zst = ZSTD_createDCtx();
		if (!u->zst ||
			ZSTD_isError(ZSTD_DCtx_setParameter(
				u->zst, ZSTD_d_windowLogMax, ZST_READ_MAX)))
			xmemory_gone();
	}
	*out = u;
}

static enum status damaged(const struct unpacker *u, const char *what, struct err *err)
{
	return err_set(err, ST_DENIED, EX_DATAERR,
		"cannot be unpacked at byte %" PRIu64 " (%s)",
		u->at - u->in_n + u->in_pos, what);
}

/* Reads on when the input is used up. At the end in_n stays 0. */
static enum status fill(struct unpacker *u, struct err *err)
{
	uint64_t left = u->end - u->at;
	ssize_t n;

	if (u->in_pos < u->in_n)
		return ST_OK;
	u->in_pos = u->in_n = 0;
	if (left == 0)
		return ST_OK;
	n = fs_pread(u->fd, u->in, left < CHUNK ? (size_t)left : CHUNK, u->at);
	if (n < 0)
		return err_sys(err, ST_FATAL, "read at byte %" PRIu64, u->at);
	if (n == 0)
		return damaged(u, "the file ends early", err);
	u->at += (uint64_t)n;
	u->in_n = (size_t)n;
	return ST_OK;
}

static enum status mark(struct unpacker *u, struct err *err)
{
	if (u->want_marks) {
		if (u->marks_n == MARKS_MAX)
			return damaged(u, "too many members", err);
		if (u->marks_n % 1024 == 0)
			u->marks = xreallocarray(
				u->marks, u->marks_n + 1024, sizeof(*u->marks));
		u->marks[u->marks_n++] = (struct mark){ u->at - u->in_n + u->in_pos,
			u->raw };
	}
	u->fresh = false;
	return ST_OK;
}

static enum status step_gz(struct unpacker *u, size_t *n, struct err *err)
{
	int z;

	u->z.next_in = (unsigned char *)u->in + u->in_pos;
	u->z.avail_in = (unsigned)(u->in_n - u->in_pos);
	u->z.next_out = (unsigned char *)u->out;
	u->z.avail_out = sizeof(u->out);
	z = inflate(&u->z, Z_NO_FLUSH);
	u->in_pos = u->in_n - u->z.avail_in;
	*n = sizeof(u->out) - u->z.avail_out;
	u->full = u->z.avail_out == 0;
	if (z == Z_STREAM_END) {
		u->fresh = true;
		u->full = false;
		inflateReset(&u->z);
	} else if (z != Z_OK && z != Z_BUF_ERROR) {
		return damaged(u, u->z.msg ? u->z.msg : "not gzip", err);
	}
	return ST_OK;
}

static enum status step_zst(struct unpacker *u, size_t *n, struct err *err)
{
	ZSTD_inBuffer in = { u->in, u->in_n, u->in_pos };
	ZSTD_outBuffer out = { u->out, sizeof(u->out), 0 };
	size_t rc = ZSTD_decompressStream(u->zst, &out, &in);

	u->in_pos = in.pos;
	*n = out.pos;
	u->full = out.pos == out.size && rc != 0;
	if (ZSTD_isError(rc))
		return damaged(u, ZSTD_getErrorName(rc), err);
	if (rc == 0)
		u->fresh = true;
	return ST_OK;
}

static enum status step(struct unpacker *u, const char **p, size_t *n, struct err *err)
{
	*p = u->out;
	if (u->codec == ARCHIVE_GZ)
		return step_gz(u, n, err);
	if (u->codec == ARCHIVE_ZST)
		return step_zst(u, n, err);
	*p = u->in + u->in_pos;
	*n = u->in_n - u->in_pos;
	u->in_pos = u->in_n;
	return ST_OK;
}

enum status unpacker_next(
	struct unpacker *u, const char **p, size_t *n, struct err *err)
{
	enum status rc;

	*n = 0;
	if (u->rest_n) {
		*p = u->rest;
		*n = u->rest_n;
		u->rest_n = 0;
		return ST_OK;
	}
	while (*n == 0) {
		rc = fill(u, err);
		if (rc < 0)
			return rc;
		if (u->in_n == 0 && !u->full) {
			bool whole = u->fresh || u->codec == ARCHIVE_NONE ||
				u->codec == ARCHIVE_ZIP;

			return whole ? ST_OK : damaged(u, "it is cut short", err);
		}
		if (u->fresh && (rc = mark(u, err)) < 0)
			return rc;
		rc = step(u, p, n, err);
		if (rc < 0)
			return rc;
	}
	u->raw += *n;
	return ST_OK;
}

enum status unpacker_skip(struct unpacker *u, uint64_t skip, struct err *err)
{
	const char *p;
	size_t n;

	while (skip) {
		enum status rc = unpacker_next(u, &p, &n, err);

		if (rc < 0)
			return rc;
		if (n == 0)
			return damaged(u, "it is shorter than expected", err);
		if (n > skip) {
			u->rest = p + skip;
			u->rest_n = n - (size_t)skip;
			n = (size_t)skip;
		}
		skip -= n;
	}
	return ST_OK;
}

const struct mark *unpacker_marks(const struct unpacker *u, size_t *n)
{
	*n = u->marks_n;
	return u->marks;
}

void unpacker_close(struct unpacker **up)
{
	struct unpacker *u = *up;

	if (!u)
		return;
	if (u->codec == ARCHIVE_GZ)
		inflateEnd(&u->z);
	ZSTD_freeDCtx(u->zst);
	free(u->marks);
	free(u);
	*up = NULL;
}
