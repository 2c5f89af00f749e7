/*
 * sha_two.c: two SHA-256 at once, with the instructions x86 has for it.
 *
 * Each of these instructions waits for the one before, so that one digest keeps
 * half of the processor idle. Two that have nothing to do with each other take
 * turns and need hardly more time than one.
 */
#include "sha.h"

#if defined(__x86_64__) && defined(__GNUC__)

#	include <cpuid.h>
#	include <immintrin.h>
#	include <stdatomic.h>

#	define WITH_SHA __attribute__((target("sha,sse4.1")))
#	define WITH_SHA_INLINE \
		__attribute__((target("sha,sse4.1"), always_inline)) static inline

enum { QUADS = 16 }; /* 64 rounds */

static const uint32_t constants[QUADS][4] __attribute__((aligned(16))) = {
	{ 0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5 },
	{ 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5 },
	{ 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3 },
	{ 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174 },
	{ 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc },
	{ 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da },
	{ 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7 },
	{ 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967 },
	{ 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13 },
	{ 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85 },
	{ 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3 },
	{ 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070 },
	{ 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5 },
	{ 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3 },
	{ 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208 },
	{ 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2 },
};

/* One of the two: the state as the instructions want it, and 16 words of input. */
struct lane {
	__m128i abef, cdgh;
	__m128i w[4];
};

static bool has_sha(void)
{
	unsigned a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1))
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

bool sha_two_known(void)
{
	static atomic_int
		known; /* 0: not asked yet; asking is slow in a virtual machine */

	if (!atomic_load_explicit(&known, memory_order_relaxed))
		atomic_store_explicit(&known, has_sha() ? 1 : -1, memory_order_relaxed);
	return atomic_load_explicit(&known, memory_order_relaxed) > 0;
}

WITH_SHA_INLINE void lane_begin(struct lane *l, const uint32_t h[8])
{
	__m128i low = _mm_loadu_si128((const __m128i *)(const void *)h);
	__m128i high = _mm_loadu_si128((const __m128i *)(const void *)(h + 4));

	low = _mm_shuffle_epi32(low, 0xb1);   /* b a d c, the lowest first */
	high = _mm_shuffle_epi32(high, 0x1b); /* h g f e */
	l->abef = _mm_alignr_epi8(low, high, 8);
	l->cdgh = _mm_blend_epi16(high, low, 0xf0);
}

WITH_SHA_INLINE void lane_end(const struct lane *l, uint32_t h[8])
{
	__m128i low = _mm_shuffle_epi32(l->abef, 0x1b);
	__m128i high = _mm_shuffle_epi32(l->cdgh, 0xb1);

	_mm_storeu_si128((__m128i *)(void *)h, _mm_blend_epi16(low, high, 0xf0));
	_mm_storeu_si128((__m128i *)(void *)(h + 4), _mm_alignr_epi8(high, low, 8));
}

WITH_SHA_INLINE void lane_load(struct lane *l, const unsigned char *p)
{
	const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	int i;

#	pragma GCC unroll 4
	for (i = 0; i < 4; i++)
		l->w[i] = _mm_shuffle_epi8(
			_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i)),
			swap);
}

/* Four rounds, and the four words that will be used sixteen rounds from now. */
WITH_SHA_INLINE void lane_quad(struct lane *l, int quad)
{
	__m128i *w = &l->w[quad & 3], ahead = l->w[(quad + 3) & 3];
	__m128i k = _mm_add_epi32(
		*w, _mm_load_si128((const __m128i *)(const void *)constants[quad]));

	l->cdgh = _mm_sha256rnds2_epu32(l->cdgh, l->abef, k);
	l->abef = _mm_sha256rnds2_epu32(l->abef, l->cdgh, _mm_shuffle_epi32(k, 0x0e));
	if (quad >= QUADS - 4)
		return;
	*w = _mm_sha256msg1_epu32(*w, l->w[(quad + 1) & 3]);
	*w = _mm_add_epi32(*w, _mm_alignr_epi8(ahead, l->w[(quad + 2) & 3], 4));
	*w = _mm_sha256msg2_epu32(*w, ahead);
}

WITH_SHA void sha_two_blocks(uint32_t a[8], const unsigned char *ap, uint32_t b[8],
	const unsigned char *bp, size_t blocks)
{
	struct lane x, y;
	__m128i was[4];
	int quad;

	lane_begin(&x, a);
	lane_begin(&y, b);
	for (; blocks; blocks--, ap += SHA_BLOCK, bp += SHA_BLOCK) {
		was[0] = x.abef;
		was[1] = x.cdgh;
		was[2] = y.abef;
		was[3] = y.cdgh;
		lane_load(&x, ap);
		lane_load(&y, bp);
#	pragma GCC unroll 16
		for (quad = 0; quad < QUADS; quad++) {
			lane_quad(&x, quad);
			lane_quad(&y, quad);
		}
		x.abef = _mm_add_epi32(x.abef, was[0]);
		x.cdgh = _mm_add_epi32(x.cdgh, was[1]);
		y.abef = _mm_add_epi32(y.abef, was[2]);
		y.cdgh = _mm_add_epi32(y.cdgh, was[3]);
	}
	lane_end(&x, a);
	lane_end(&y, b);
}

#else

bool sha_two_known(void)
{
	return false;
}

void sha_two_blocks(uint32_t a[8], const unsigned char *ap, uint32_t b[8],
	const unsigned char *bp, size_t blocks)
{
	(void)a;
	(void)ap;
	(void)b;
	(void)bp;
	(void)blocks;
}

#endif
