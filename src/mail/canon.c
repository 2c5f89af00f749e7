/*
 * canon.c: digests of text that do not depend on how its lines end.
 *
 * Works on runs between line ends, found by memchr, and hashes whole blocks.
 */
#include "canon.h"

#include <popferry/mem.h>

#include <stdlib.h>
#include <string.h>

static void out_flush(struct canon_out *o)
{
	sha_add(&o->sha, o->block, o->fill);
	o->fill = 0;
}

static void out_ends(struct canon_out *o)
{
	while (o->ends) {
		size_t k = CANON_BLOCK - o->fill;

		if (k > o->ends)
			k = (size_t)o->ends;
		memset(o->block + o->fill, '\n', k);
		o->fill += k;
		o->ends -= k;
		if (o->fill == CANON_BLOCK)
			out_flush(o);
	}
}

static void out_text(struct canon_out *o, const char *p, size_t n)
{
	if (n == 0)
		return;
	if (o->ends)
		out_ends(o);
	if (n > CANON_BLOCK - o->fill) {
		out_flush(o);
		if (n > CANON_BLOCK) {
			sha_add(&o->sha, p, n);
			return;
		}
	}
	memcpy(o->block + o->fill, p, n);
	o->fill += n;
}

static void out_end(struct canon_out *o, unsigned char digest[DIGEST])
{
	out_flush(o);
	o->ends = 0;
	sha_end(&o->sha, digest);
}

void canon_init(struct canon *c, const struct sha *fresh)
{
	c->crs = 0;
	c->loose = NULL;
	sha_copy(&c->strict.sha, fresh);
	c->strict.ends = 0;
	c->strict.fill = 0;
}

static void loose_free(struct canon *c)
{
	if (!c->loose)
		return;
	sha_release(&c->loose->sha);
	free(c->loose);
	c->loose = NULL;
}

void canon_release(struct canon *c)
{
	loose_free(c);
	sha_release(&c->strict.sha);
}

/* From here on the two digests differ. */
static void part(struct canon *c)
{
	struct canon_out *o;

	if (c->loose)
		return;
	o = xmalloc(sizeof(*o));
	sha_copy(&o->sha, &c->strict.sha);
	o->ends = c->strict.ends;
	o->fill = c->strict.fill;
	memcpy(o->block, c->strict.block, o->fill);
	c->loose = o;
}

static void loose_text(struct canon_out *o, const char *p, size_t n)
{
	const char *nul;

	while (n && (nul = memchr(p, '\0', n))) {
		out_text(o, p, (size_t)(nul - p));
		out_text(o, "\x80", 1);
		n -= (size_t)(nul - p) + 1;
		p = nul + 1;
	}
	out_text(o, p, n);
}

/* nul: the input around has a NUL somewhere. */
static void text(struct canon *c, const char *p, size_t n, bool nul)
{
	if (nul && !c->loose && memchr(p, '\0', n))
		part(c);
	out_text(&c->strict, p, n);
	if (c->loose)
		loose_text(c->loose, p, n);
}

static void line_end(struct canon *c)
{
	c->strict.ends++;
	if (c->loose)
		c->loose->ends++;
}

static void lone_crs(struct canon *c, size_t n)
{
	part(c);
	c->strict.ends += n;
}

void canon_settle(struct canon *c)
{
	if (c->crs)
		lone_crs(c, c->crs);
	c->crs = 0;
}

/* The CRs at the end of the last input were waiting for this one. */
static const char *resume(struct canon *c, const char *p, const char *end)
{
	while (p < end && *p == '\r') {
		c->crs++;
		p++;
	}
	if (p == end)
		return p;
	if (*p != '\n') {
		canon_settle(c);
		return p;
	}
	c->crs = 0;
	line_end(c);
	return p + 1;
}

void canon_put(struct canon *c, const char *p, size_t n, bool plain)
{
	const char *end = p + n, *nl, *tail, *cr;
	bool nul = n && !plain && memchr(p, '\0', n);

	if (c->crs)
		p = resume(c, p, end);
	while (p < end) {
		nl = memchr(p, '\n', (size_t)(end - p));
		tail = nl ? nl : end;
		while (tail > p && tail[-1] == '\r')
			tail--;
		while (!plain && (cr = memchr(p, '\r', (size_t)(tail - p)))) {
			text(c, p, (size_t)(cr - p), nul);
			lone_crs(c, 1);
			p = cr + 1;
		}
		text(c, p, (size_t)(tail - p), nul);
		if (!nl) {
			c->crs = (size_t)(end - tail);
			break;
		}
		line_end(c);
		p = nl + 1;
	}
}

void canon_end(struct canon *c, unsigned char strict[DIGEST], unsigned char *loose)
{
	if (c->loose && loose)
		out_end(c->loose, loose);
	out_end(&c->strict, strict);
	if (!c->loose && loose)
		memcpy(loose, strict, DIGEST);
	loose_free(c);
	c->crs = 0;
}
