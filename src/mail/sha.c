/* sha.c: SHA-256 by OpenSSL, which takes the processor's own instructions. */
#define OPENSSL_SUPPRESS_DEPRECATED /* EVP digests cannot live in the caller's memory */
#include "sha.h"

#include <openssl/sha.h>

_Static_assert(sizeof(struct sha) == sizeof(SHA256_CTX) &&
		offsetof(struct sha, count) == offsetof(SHA256_CTX, Nl) &&
		offsetof(struct sha, used) == offsetof(SHA256_CTX, num),
	"struct sha is what OpenSSL has, so that no other header of ours needs its own");

static SHA256_CTX *ctx(struct sha *s)
{
	return (SHA256_CTX *)(void *)s;
}

void sha_init(struct sha *s)
{
	SHA256_Init(ctx(s));
}

void sha_add(struct sha *s, const void *p, size_t n)
{
	SHA256_Update(ctx(s), p, n);
}

void sha_end(struct sha *s, unsigned char out[DIGEST])
{
	SHA256_Final(out, ctx(s));
	SHA256_Init(ctx(s));
}

/* Fills up the block that is under way. Returns what it took. */
static size_t fill_block(struct sha *s, const void *p, size_t n)
{
	size_t k = s->used ? SHA_BLOCK - s->used : 0;

	if (k > n)
		k = n;
	sha_add(s, p, k);
	return k;
}

static void count(struct sha *s, size_t blocks)
{
	uint64_t bits = (uint64_t)s->count[1] << 32 | s->count[0];

	bits += (uint64_t)blocks * SHA_BLOCK * 8;
	s->count[0] = (uint32_t)bits;
	s->count[1] = (uint32_t)(bits >> 32);
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
		sha_two_blocks(a->state, x, b->state, y, blocks);
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
