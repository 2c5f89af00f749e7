/*
 * deflate.c: compression between the protocol and TLS (RFC 4978).
 *
 * What is sent is compressed as it comes, and brought to a byte's end (a sync
 * flush) only when nothing more is at hand, so that the peer sees all of it. What
 * is received is kept compressed and inflated only as far as the receive buffer has
 * room: a bomb fills no memory, it ends at the limits that any answer has.
 */
#include <popferry/mem.h>

#include "conn.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
	LEVEL = 1, /* a line that profits is slower than any processor at that */
	WINDOW = -15,
	MEMORY = 8,
	PACKED_SIZE = 32 * 1024,
};

struct deflate {
	z_stream out, in;
	char *got; /* received, got_n bytes from got_at not yet inflated */
	size_t got_at, got_n, got_cap;
	bool full; /* the last inflate() may hold more than it had room for */
	char packed[PACKED_SIZE]; /* compressed, packed_n from packed_at not yet sent */
	size_t packed_at, packed_n;
	bool open; /* something was taken since the last sync flush */
};

enum status conn_deflate(struct conn *c, struct err *err)
{
	struct deflate *z;

	if (c->dead || conn_flush(c, err) != ST_OK)
		return conn_gone(c, err);
	if (c->zip)
		return err_set(
			err, ST_FATAL, EX_SOFTWARE, "%s: compressed twice", c->where);
	z = xcalloc(1, sizeof(*z));
	if (deflateInit2(&z->out, LEVEL, Z_DEFLATED, WINDOW, MEMORY,
		    Z_DEFAULT_STRATEGY) != Z_OK ||
		inflateInit2(&z->in, WINDOW) != Z_OK)
		xmemory_gone();
	/* What came behind the go-ahead is compressed already. */
	z->got_cap = c->in_n > PACKED_SIZE ? c->in_n : PACKED_SIZE;
	z->got = xmalloc(z->got_cap);
	memcpy(z->got, c->in + c->in_off, c->in_n);
	z->got_n = c->in_n;
	c->counts.in -= c->in_n;
	c->in_n = c->in_off = 0;
	c->zip = z;
	trace_note(c, "compressed from here on (DEFLATE)");
	return ST_OK;
}

void zip_end(struct conn *c)
{
	struct deflate *z = c->zip;

	if (!z)
		return;
	deflateEnd(&z->out);
	inflateEnd(&z->in);
	free(z->got);
	free(z);
	c->zip = NULL;
}

/* ---- receiving ---- */

/* Bytes of z->got are used up. 0: the end; IO_AGAIN, IO_FAIL. */
static long get_more(struct conn *c)
{
	struct deflate *z = c->zip;
	long k = raw_read(c, z->got, z->got_cap);

	z->got_at = 0;
	z->got_n = k > 0 ? (size_t)k : 0;
	return k;
}

long zip_read(struct conn *c, char *p, size_t n)
{
	struct deflate *z = c->zip;
	size_t room = n < UINT32_MAX ? n : UINT32_MAX;
	long k;
	int rc;

	for (;;) {
		if (!z->got_n && !z->full) {
			k = get_more(c);
			if (k <= 0)
				return k;
		}
		z->in.next_in = (Bytef *)(z->got + z->got_at);
		z->in.avail_in = (uInt)z->got_n;
		z->in.next_out = (Bytef *)p;
		z->in.avail_out = (uInt)room;
		rc = inflate(&z->in, Z_SYNC_FLUSH);
		z->got_at += z->got_n - z->in.avail_in;
		z->got_n = z->in.avail_in;
		z->full = z->in.avail_out == 0;
		if (rc != Z_OK && rc != Z_BUF_ERROR) {
			conn_fail(c, ST_RETRY, EX_PROTOCOL, "broke the compression: %s",
				z->in.msg ? z->in.msg : "it came to an end");
			return IO_FAIL;
		}
		if (z->in.avail_out < room)
			return (long)(room - z->in.avail_out);
	}
}

bool zip_more(const struct conn *c)
{
	return c->zip->got_n || c->zip->full;
}

/* ---- sending ---- */

/* What is packed goes out. 0: all of it; IO_AGAIN, IO_FAIL. */
static long drain(struct conn *c)
{
	struct deflate *z = c->zip;
	long k;

	while (z->packed_n) {
		k = raw_write(c, z->packed + z->packed_at, z->packed_n, NULL, 0);
		if (k < 0)
			return k;
		z->packed_at += (size_t)k;
		z->packed_n -= (size_t)k;
	}
	z->packed_at = 0;
	return 0;
}

/* Packs as much as there is room for. */
static size_t pack(struct deflate *z, const char *p, size_t n, int flush)
{
	size_t used = z->packed_at + z->packed_n;
	uInt have = n < UINT32_MAX ? (uInt)n : UINT32_MAX;

	z->out.next_in = (Bytef *)p;
	z->out.avail_in = have;
	z->out.next_out = (Bytef *)(z->packed + used);
	z->out.avail_out = (uInt)(sizeof(z->packed) - used);
	deflate(&z->out, flush);
	z->packed_n = sizeof(z->packed) - used - z->out.avail_out + z->packed_n;
	return have - z->out.avail_in;
}

long zip_write(struct conn *c, const char *p, size_t n)
{
	struct deflate *z = c->zip;
	long k = drain(c);

	if (k < 0)
		return k;
	z->open = true;
	return (long)pack(z, p, n, Z_NO_FLUSH);
}

long zip_sync(struct conn *c)
{
	struct deflate *z = c->zip;
	long k = drain(c);

	while (k == 0 && z->open) {
		pack(z, NULL, 0, Z_SYNC_FLUSH);
		/* Room left over: the flush is complete. */
		z->open = z->packed_n == sizeof(z->packed);
		k = drain(c);
	}
	return k;
}

bool zip_unsent(const struct conn *c)
{
	return c->zip->open || c->zip->packed_n;
}
