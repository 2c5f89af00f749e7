/*
 * canon.c: digests of text that do not depend on how its lines end.
 *
 * Lines are gathered in a block, and blocks are hashed. Line ends that may
 * turn out to be the last stay in the block.
 */
#include "canon.h"

#include <popferry/mem.h>

#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#	include <emmintrin.h>
#endif

void canon_beside(struct canon *c, struct sha *s, const char *p, size_t n)
{
	c->beside = s;
	c->p = p;
	c->n = n;
}

static void hash(struct canon *c, struct canon_out *o, const char *p, size_t n)
{
	size_t k = n < c->n ? n : c->n;

	if (o != &c->strict || k == 0) {
		sha_add(&o->sha, p, n);
		return;
	}
	sha_add_two(c->beside, c->p, k, &o->sha, p, n);
	c->p += k;
	c->n -= k;
}

static void hash_ends(struct canon_out *o)
{
	char ends[256];
	size_t k;

	memset(ends, '\n', sizeof(ends));
	for (; o->ends; o->ends -= k) {
		k = o->ends < sizeof(ends) ? (size_t)o->ends : sizeof(ends);
		sha_add(&o->sha, ends, k);
	}
}

static void out_flush(struct canon *c, struct canon_out *o)
{
	size_t n = o->fill;

	while (n && o->block[n - 1] == '\n')
		n--;
	if (n) {
		if (o->ends)
			hash_ends(o);
		hash(c, o, o->block, n);
		o->fill -= n;
		memset(o->block, '\n', o->fill);
	}
	if (o->fill > CANON_BLOCK / 2) {
		o->ends += o->fill;
		o->fill = 0;
	}
}

static size_t out_room(struct canon *c, struct canon_out *o)
{
	if (o->fill == CANON_BLOCK)
		out_flush(c, o);
	return CANON_BLOCK - o->fill;
}

static void out_text(struct canon *c, struct canon_out *o, const char *p, size_t n)
{
	size_t k;

	for (; n; p += k, n -= k) {
		k = out_room(c, o);
		if (k > n)
			k = n;
		memcpy(o->block + o->fill, p, k);
		o->fill += k;
	}
}

static void out_ends(struct canon *c, struct canon_out *o, size_t n)
{
	size_t k;

	for (; n; n -= k) {
		k = out_room(c, o);
		if (k > n)
			k = n;
		memset(o->block + o->fill, '\n', k);
		o->fill += k;
	}
}

static void out_end(struct canon *c, struct canon_out *o, unsigned char digest[DIGEST])
{
	out_flush(c, o);
	o->ends = 0;
	o->fill = 0;
	sha_end(&o->sha, digest);
}

void canon_init(struct canon *c)
{
	memset(c, 0, offsetof(struct canon, strict));
	sha_init(&c->strict.sha);
	c->strict.ends = 0;
	c->strict.fill = 0;
}

void canon_release(struct canon *c)
{
	free(c->loose);
	c->loose = NULL;
}

void canon_sync(struct canon *c)
{
	out_flush(c, &c->strict);
	if (c->n)
		sha_add(c->beside, c->p, c->n);
	c->n = 0;
}

/* From here on the two digests differ. */
static void part(struct canon *c)
{
	struct canon_out *o;

	if (c->loose)
		return;
	o = xmalloc(sizeof(*o));
	o->sha = c->strict.sha;
	o->ends = c->strict.ends;
	o->fill = c->strict.fill;
	memcpy(o->block, c->strict.block, o->fill);
	c->loose = o;
}

static void loose_text(struct canon *c, const char *p, size_t n)
{
	const char *nul;

	while (n && (nul = memchr(p, '\0', n))) {
		out_text(c, c->loose, p, (size_t)(nul - p));
		out_text(c, c->loose, "\x80", 1);
		n -= (size_t)(nul - p) + 1;
		p = nul + 1;
	}
	out_text(c, c->loose, p, n);
}

/* nul: the input around has a NUL somewhere. */
static void text(struct canon *c, const char *p, size_t n, bool nul)
{
	if (nul && !c->loose && memchr(p, '\0', n))
		part(c);
	out_text(c, &c->strict, p, n);
	if (c->loose)
		loose_text(c, p, n);
}

static void line_end(struct canon *c)
{
	out_ends(c, &c->strict, 1);
	if (c->loose)
		out_ends(c, c->loose, 1);
}

static void lone_crs(struct canon *c, size_t n)
{
	part(c);
	out_ends(c, &c->strict, n);
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

/* Lines in which there may be anything. */
static void put_odd(struct canon *c, const char *p, const char *end)
{
	const char *nl, *tail, *cr;
	bool nul = memchr(p, '\0', (size_t)(end - p));

	while (p < end) {
		nl = memchr(p, '\n', (size_t)(end - p));
		tail = nl ? nl : end;
		while (tail > p && tail[-1] == '\r')
			tail--;
		while ((cr = memchr(p, '\r', (size_t)(tail - p)))) {
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

#ifdef __SSE2__
/*
 * Copies most of n bytes without their CRs, and returns how many those are. In strips,
 * each written twice: as it is, and from its first CR on what stands behind that. There
 * is nothing to guess in it, as where a line ends; *o has room for n bytes.
 */
static size_t drop_crs_fast(char **o, const char *p, size_t n)
{
	enum { STRIP = 16 };
	const __m128i cr = _mm_set1_epi8('\r');
	size_t at = 0;

	while (n - at > 2 * STRIP) {
		const char *in = p + at;
		__m128i strip = _mm_loadu_si128((const void *)in);
		unsigned crs = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(strip, cr));
		int first = __builtin_ctz(crs | 1U << STRIP), k = STRIP;

		_mm_storeu_si128((void *)*o, strip);
		_mm_storeu_si128((void *)(*o + first),
			_mm_loadu_si128((const void *)(in + first + 1)));
		/* The second one begins the next strip. */
		if (__builtin_expect(crs & (crs - 1), 0))
			k = __builtin_ctz(crs & (crs - 1));
		*o += k - (crs != 0);
		at += (size_t)k;
	}
	return at;
}
#else
static size_t drop_crs_fast(char **o, const char *p, size_t n)
{
	(void)o;
	(void)p;
	(void)n;
	return 0;
}
#endif

/* Lines that end in CRLF or LF; there is room for all of it in the block. */
static void put_plain(struct canon *c, const char *p, const char *end)
{
	char *o = c->strict.block + c->strict.fill;
	const char *cr;

	c->crs = end[-1] == '\r';
	p += drop_crs_fast(&o, p, (size_t)(end - p));
	while ((cr = memchr(p, '\r', (size_t)(end - p)))) {
		memcpy(o, p, (size_t)(cr - p));
		o += cr - p;
		p = cr + 1;
	}
	memcpy(o, p, (size_t)(end - p));
	c->strict.fill = (size_t)(o + (end - p) - c->strict.block);
}

void canon_put(struct canon *c, const char *p, size_t n, bool plain)
{
	const char *end = p + n;
	size_t k;

	while (p < end) {
		if (c->crs) {
			p = resume(c, p, end);
			continue;
		}
		k = (size_t)(end - p);
		if (!plain || c->loose) {
			put_odd(c, p, end);
			break;
		}
		if (k > out_room(c, &c->strict))
			k = CANON_BLOCK - c->strict.fill;
		put_plain(c, p, p + k);
		p += k;
	}
}

void canon_end(struct canon *c, unsigned char strict[DIGEST], unsigned char *loose)
{
	if (c->loose && loose)
		out_end(c, c->loose, loose);
	out_end(c, &c->strict, strict);
	if (!c->loose && loose)
		memcpy(loose, strict, DIGEST);
	canon_release(c);
	c->crs = 0;
}
