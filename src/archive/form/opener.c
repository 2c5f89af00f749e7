/*
 * opener.c: libzstd and libdeflate, straight to where the bytes are to be.
 *
 * zstd's streams keep what they gave, as much as the window, unless told that the
 * caller does. A libzstd without that parameter works as well, and takes the memory.
 */
#define ZSTD_STATIC_LINKING_ONLY /* for ZSTD_d_stableOutBuffer */
#include "opener.h"
#include "layout.h"

#include <popferry/mem.h>

#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

enum { PIECE = 128 * 1024 };

struct opener {
	struct libdeflate_decompressor *gz;
	ZSTD_DCtx *zst; /* neither: the bytes are as they are */
	ZSTD_outBuffer out;
	bool whole; /* what came ends where a frame ends */
};

void opener_open(struct opener **out, enum archive_codec c)
{
	struct opener *o = xcalloc(1, sizeof(*o));

	if (c == ARCHIVE_ZST && (o->zst = ZSTD_createDCtx()))
		ZSTD_DCtx_setParameter(o->zst, ZSTD_d_stableOutBuffer, 1);
	if (c == ARCHIVE_GZ)
		o->gz = libdeflate_alloc_decompressor();
	if (codec_packs(c) && !o->zst && !o->gz)
		xmemory_gone();
	*out = o;
}

size_t opener_piece(const struct opener *o, size_t len)
{
	return o->gz || len < PIECE ? len : PIECE;
}

void opener_begin(struct opener *o, char *out, size_t n)
{
	o->out = (ZSTD_outBuffer){ out, n, 0 };
	o->whole = false;
	if (o->zst)
		ZSTD_DCtx_reset(o->zst, ZSTD_reset_session_only);
}

bool opener_framed(const struct opener *o)
{
	return o->zst != NULL;
}

bool opener_frame(struct opener *o, const char *p, size_t n, size_t *used, size_t *made,
	bool *end)
{
	ZSTD_inBuffer in = { p, n, 0 };
	size_t rc = 1;

	while (rc && in.pos < in.size) {
		size_t was = in.pos + o->out.pos;

		rc = ZSTD_decompressStream(o->zst, &o->out, &in);
		if (ZSTD_isError(rc) || in.pos + o->out.pos == was)
			return false;
	}
	*used = in.pos;
	*made = o->out.pos;
	*end = rc == 0;
	return true;
}

static bool feed_zst(struct opener *o, const char *p, size_t n)
{
	size_t used, made;

	for (; n; p += used, n -= used)
		if (!opener_frame(o, p, n, &used, &made, &o->whole))
			return false;
	return true;
}

static bool feed_gz(struct opener *o, const char *p, size_t n)
{
	size_t used, made;

	for (; n; p += used, n -= used, o->out.pos += made)
		if (libdeflate_gzip_decompress_ex(o->gz, p, n,
			    (char *)o->out.dst + o->out.pos, o->out.size - o->out.pos,
			    &used, &made) != LIBDEFLATE_SUCCESS)
			return false;
	return o->whole = true;
}

static bool feed_plain(struct opener *o, const char *p, size_t n)
{
	if (n > o->out.size - o->out.pos)
		return false;
	memcpy((char *)o->out.dst + o->out.pos, p, n);
	o->out.pos += n;
	return o->whole = true;
}

bool opener_feed(struct opener *o, const char *p, size_t n, size_t *made)
{
	bool good = o->zst ? feed_zst(o, p, n)
		: o->gz    ? feed_gz(o, p, n)
			   : feed_plain(o, p, n);

	*made = o->out.pos;
	return good;
}

bool opener_end(const struct opener *o)
{
	return o->whole && o->out.pos == o->out.size;
}

void opener_close(struct opener **op)
{
	struct opener *o = *op;

	if (!o)
		return;
	libdeflate_free_decompressor(o->gz);
	ZSTD_freeDCtx(o->zst);
	free(o);
	*op = NULL;
}
