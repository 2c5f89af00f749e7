/*
 * sha.h: SHA-256 that cannot fail, and costs nothing to begin.
 *
 * The functions of OpenSSL's that work on the caller's memory: one message has
 * half a dozen digests, and contexts from the heap cost more than a small one.
 */
#ifndef MAIL_SHA_H
#define MAIL_SHA_H

#include <popferry/mail.h>

#include <openssl/sha.h>

struct sha {
	SHA256_CTX ctx;
};

void sha_init(struct sha *s);
void sha_add(struct sha *s, const void *p, size_t n);
/* The same on two digests; much faster together where the processor has
 * instructions. */
void sha_add_two(struct sha *a, const void *ap, size_t an, struct sha *b,
	const void *bp, size_t bn);
/* The digest of what came so far; s begins anew. */
void sha_end(struct sha *s, unsigned char out[DIGEST]);

enum { SHA_BLOCK = SHA256_CBLOCK };
/* Can sha_two_blocks() be called here? */
bool sha_two_known(void);
/* Takes as many whole blocks into one state as into the other. */
void sha_two_blocks(uint32_t a[8], const unsigned char *ap, uint32_t b[8],
	const unsigned char *bp, size_t blocks);

#endif
