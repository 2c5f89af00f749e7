/* member.c: gzip members, zstd frames, plain runs; packing and unpacking. */
#define ZSTD_STATIC_LINKING_ONLY /* a setting of readers that others may refuse */
#include "member.h"
#include "dense.h"

#include <popferry/mem.h>

#include <inttypes.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

enum {
	FEED = 128 * 1024,
	CHUNK = 64 * 1024,
	/*
	 * Of libdeflate. What is not base64 is text, at 300 MB/s; 5 would make the
	 * segment of a list's mail 5 % smaller, and take twice as long.
	 */
	GZ_LEVEL = 1,
	/* A run of base64 is tried at one place. Without repetitions it keeps 76 per
	 * cent of its size; where it keeps less than that it is no attachment that is
	 * compressed already. */
	GZ_SAMPLE = 8 * 1024,
	GZ_DENSE = 74,
	GZ_WRAP = 15 + 16, /* window 2^15, gzip header */
	ZST_LEVEL = 3,
	ZST_LIGHT = 1,
	ZST_WINDOW = 22,   /* written: no less than a member of most archives */
	ZST_READ_MAX = 27, /* read, and written at most: what plain tools accept */
	/* Members that are unpacked at once: in the file, and unpacked. Those of the
	 * usual size are, but for what holds a large message. */
	WHOLE_MAX = 2 * 1024 * 1024,
	MARKS_MAX = 1 << 20, /* more members than a segment can have */
};

uint64_t member_bytes(enum archive_codec c)
{
	return (c == ARCHIVE_ZST ? 2u : 1u) * 1024u * 1024u;
}

/* ---- packing ---- */

struct packer {
	struct libdeflate_compressor *gz;
	ZSTD_CCtx *zst;
	bool far; /* it looks for what is the same at a long distance, too */
	char *out;
	size_t out_n; /* room in out */
};

static void open_zst(struct packer *p)
{
	size_t bad = 0;

	p->zst = ZSTD_createCCtx();
	if (!p->zst)
		xmemory_gone();
	bad |= ZSTD_CCtx_setParameter(p->zst, ZSTD_c_compressionLevel, ZST_LEVEL);
	bad |= ZSTD_CCtx_setParameter(p->zst, ZSTD_c_windowLog, ZST_WINDOW);
	bad |= ZSTD_CCtx_setParameter(p->zst, ZSTD_c_checksumFlag, 1);
	if (ZSTD_isError(bad))
		xmemory_gone();
}

void packer_open(struct packer **out, enum archive_codec c)
{
	struct packer *p = xcalloc(1, sizeof(*p));

	if (c == ARCHIVE_ZST) {
		open_zst(p);
	} else {
		p->gz = libdeflate_alloc_compressor(GZ_LEVEL);
		if (!p->gz)
			xmemory_gone();
	}
	*out = p;
}

/* Members larger than the usual window are made to find what attachments share. */
static void look_far(struct packer *p, size_t most)
{
	int window = ZST_WINDOW;
	size_t bad;

	while (window < ZST_READ_MAX && most > (size_t)1 << window)
		window++;
	bad = ZSTD_CCtx_setParameter(p->zst, ZSTD_c_windowLog, window);
	bad |= ZSTD_CCtx_setParameter(p->zst, ZSTD_c_enableLongDistanceMatching, 1);
	if (ZSTD_isError(bad))
		xmemory_gone();
	p->far = true;
}

void packer_light(struct packer *p, bool light)
{
	int level = light ? ZST_LIGHT : ZST_LEVEL;

	if (p->zst &&
		ZSTD_isError(
			ZSTD_CCtx_setParameter(p->zst, ZSTD_c_compressionLevel, level)))
		xmemory_gone();
}

/* Is it as if it were random? */
static bool is_dense(
	struct packer *p, const char *run, size_t n, char *out, size_t room)
{
	size_t k = n < GZ_SAMPLE ? n : GZ_SAMPLE;

	return libdeflate_gzip_compress(p->gz, run + (n - k) / 2, k, out, room) * 100 >
		k * GZ_DENSE;
}

/* A gzip member, or several: of base64 and of what is around it. 0: no room. */
static size_t gzip(struct packer *p, const struct buf *b, size_t most)
{
	size_t done = 0, at = 0, from, to, n = 0, k;

	do {
		bool more = dense_next(b->p, b->n, at, &from, &to);

		at = more ? to : b->n;
		if (more && !is_dense(p, b->p + from, to - from, p->out + n, most - n))
			continue;
		if (!more)
			from = b->n;
		k = 1;
		if (from > done || !more)
			n += k = libdeflate_gzip_compress(
				p->gz, b->p + done, from - done, p->out + n, most - n);
		if (k && more)
			n += k = dense_gzip(
				b->p + from, to - from, p->out + n, most - n);
		if (k == 0)
			return 0;
		done = at;
	} while (done < b->n);
	return n;
}

enum status packer_run(struct packer *p, struct buf *b, struct err *err)
{
	size_t most = p->gz ? libdeflate_gzip_compress_bound(NULL, b->max)
			    : ZSTD_compressBound(b->max),
	       n;

	/* The ceiling is the same for all: once for ever. */
	if (most > p->out_n) {
		free(p->out);
		p->out = xmalloc(most);
		p->out_n = most;
	}
	if (p->zst && !p->far && b->max > (size_t)1 << ZST_WINDOW)
		look_far(p, b->max);
	n = p->gz ? gzip(p, b, most) : ZSTD_compress2(p->zst, p->out, most, b->p, b->n);
	if (p->zst && ZSTD_isError(n))
		return err_set(
			err, ST_FATAL, EX_SOFTWARE, "zstd: %s", ZSTD_getErrorName(n));
	if (n == 0)
		return err_set(err, ST_FATAL, EX_SOFTWARE, "libdeflate: no room");
	buf_clear(b);
	if (!buf_add(b, p->out, n))
		return err_set(
			err, ST_FATAL, EX_SOFTWARE, "a piece grew by being compressed");
	return ST_OK;
}

void packer_close(struct packer **pp)
{
	struct packer *p = *pp;

	if (!p)
		return;
	libdeflate_free_compressor(p->gz);
	ZSTD_freeCCtx(p->zst);
	free(p->out);
	free(p);
	*pp = NULL;
}

/* ---- unpacking ---- */

/* Gzip members small enough to be unpacked at once, which is several times as fast. */
struct whole {
	struct libdeflate_decompressor *d;
	size_t pos, n, cap;
	char *in, out[];
};

struct unpacker {
	enum archive_codec codec;
	struct bytes *b;
	uint64_t at, end; /* in the file: next to be read, and the end */
	uint64_t raw;     /* bytes given so far */
	bool fresh;       /* the next byte starts a member */
	bool full;        /* the last output was cut by the buffer's end */
	bool want_marks;
	struct mark *marks;
	size_t marks_n;
	struct whole *whole; /* NULL: members are not unpacked at once */
	bool at_once;        /* and until now it went well */
	z_stream z;
	ZSTD_DCtx *zst;
	size_t in_pos, in_n;
	const char *rest; /* skip: of the piece skipped into */
	size_t rest_n;
	char in[CHUNK], out[FEED];
};

static void open_whole(struct unpacker *u, size_t len)
{
	struct whole *g = u->whole;

	if (!g) {
		g = u->whole = xmalloc(sizeof(*g) + WHOLE_MAX);
		g->in = NULL;
		g->cap = 0;
		g->d = libdeflate_alloc_decompressor();
		if (!g->d)
			xmemory_gone();
	}
	if (len >= g->cap) {
		free(g->in);
		g->cap = len + 1;
		g->in = xmalloc(g->cap);
	}
	g->pos = g->n = 0;
	u->at_once = true;
}

static void close_whole(struct unpacker *u)
{
	struct whole *g = u->whole;

	if (!g)
		return;
	libdeflate_free_decompressor(g->d);
	free(g->in);
	free(g);
	u->whole = NULL;
}

/*
 * The next member. From the first that cannot be had in this way on, because it is
 * damaged or large, all goes on byte by byte.
 */
static enum status step_whole(
	struct unpacker *u, const char **p, size_t *n, struct err *err)
{
	struct whole *g = u->whole;
	struct err why = ERR_INIT;
	size_t used = 0;
	enum status rc = ST_OK;

	if (g->n == 0) {
		rc = bytes_read(
			u->b, g->in, (size_t)(u->end - u->at), u->at, &g->n, &why);
		if (rc == ST_FATAL)
			return err_set(err, rc, why.exit, "%s", why.text);
	}
	*p = g->out;
	if (rc == ST_OK && g->pos < g->n &&
		libdeflate_gzip_decompress_ex(g->d, g->in + g->pos, g->n - g->pos,
			g->out, WHOLE_MAX, &used, n) == LIBDEFLATE_SUCCESS) {
		g->pos += used;
		u->at += used;
	} else {
		*n = 0;
		u->at_once = false;
	}
	return ST_OK;
}

static bool can_whole(const struct unpacker *u, uint64_t len)
{
	return u->codec == ARCHIVE_GZ && !u->want_marks && len <= WHOLE_MAX;
}

void unpacker_open(struct unpacker **out, enum archive_codec c, struct bytes *b,
	uint64_t off, uint64_t len, bool marks)
{
	struct unpacker *u = xcalloc(1, sizeof(*u));

	u->codec = c;
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
	unpacker_again(u, b, off, len);
	*out = u;
}

void unpacker_again(struct unpacker *u, struct bytes *b, uint64_t off, uint64_t len)
{
	u->b = b;
	u->at = off;
	u->end = off + len;
	u->raw = 0;
	u->fresh = true;
	u->full = u->at_once = false;
	u->in_pos = u->in_n = u->rest_n = u->marks_n = 0;
	if (u->codec == ARCHIVE_GZ)
		inflateReset(&u->z);
	if (u->zst)
		ZSTD_DCtx_reset(u->zst, ZSTD_reset_session_only);
	if (can_whole(u, len))
		open_whole(u, (size_t)len);
}

void unpacker_vouched(struct unpacker *u)
{
	if (u->zst)
		ZSTD_DCtx_setParameter(
			u->zst, ZSTD_d_forceIgnoreChecksum, ZSTD_d_ignoreChecksum);
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
	enum status rc;
	size_t n;

	if (u->in_pos < u->in_n)
		return ST_OK;
	u->in_pos = u->in_n = 0;
	if (left == 0)
		return ST_OK;
	/* What is encrypted is damaged by whole chunks of that size: up to their
	 * borders. */
	n = CHUNK - (size_t)(u->at % CHUNK);
	rc = bytes_read(u->b, u->in, left < n ? (size_t)left : n, u->at, &n, err);
	if (rc != ST_OK)
		return rc;
	if (n == 0)
		return damaged(u, "the file ends early", err);
	u->at += n;
	u->in_n = n;
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
	while (*n == 0 && u->at_once && u->at < u->end)
		if ((rc = step_whole(u, p, n, err)) < 0)
			return rc;
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

struct mark *unpacker_marks(const struct unpacker *u, size_t *n)
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
	close_whole(u);
	ZSTD_freeDCtx(u->zst);
	free(u->marks);
	free(u);
	*up = NULL;
}
