/* sha.c: SHA-256 by OpenSSL, which takes the processor's own instructions. */
#define OPENSSL_SUPPRESS_DEPRECATED /* EVP digests cannot live in the caller's memory */
#include "sha.h"

void sha_init(struct sha *s)
{
	SHA256_Init(&s->ctx);
}

void sha_add(struct sha *s, const void *p, size_t n)
{
	SHA256_Update(&s->ctx, p, n);
}

void sha_end(struct sha *s, unsigned char out[DIGEST])
{
	SHA256_Final(out, &s->ctx);
	SHA256_Init(&s->ctx);
}

/* Fills up the block that is under way. Returns what it took. */
static size_t fill_block(struct sha *s, const void *p, size_t n)
{
	size_t k = s->ctx.num ? SHA_BLOCK - s->ctx.num : 0;

	if (k > n)
		k = n;
	sha_add(s, p, k);
	return k;
}

static void count(struct sha *s, size_t blocks)
{
	uint64_t bits = (uint64_t)s->ctx.Nh << 32 | s->ctx.Nl;

	bits += (uint64_t)blocks * SHA_BLOCK * 8;
	s->ctx.Nl = (SHA_LONG)bits;
	s->ctx.Nh = (SHA_LONG)(bits >> 32);
}

void sha_add_two(struct sha *a, const void *ap, size_t an, struct sha *b,
	const void *bp, size_t bn)
{
	const unsigned char *x = ap, *y = bp;
	size_t k, blocks;

	if (an >= SHA_BLOCK && bn >= SHA_BLOCK && sha_two_known()) {
		k = fill_block(a, x, an);
		x += k;
		an -= k;
		k = fill_block(b, y, bn);
		y += k;
		bn -= k;
		blocks = (an < bn ? an : bn) / SHA_BLOCK;
		sha_two_blocks(a->ctx.h, x, b->ctx.h, y, blocks);
		count(a, blocks);
		count(b, blocks);
		k = blocks * SHA_BLOCK;
		x += k;
		an -= k;
		y += k;
		bn -= k;
	}
	sha_add(a, x, an);
	sha_add(b, y, bn);
}

void digest_of(const void *p, size_t n, unsigned char out[DIGEST])
{
	struct sha s;

	sha_init(&s);
	sha_add(&s, p, n);
	sha_end(&s, out);
}
