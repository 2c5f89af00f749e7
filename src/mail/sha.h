/*
 * sha.h: SHA-256 that cannot fail, and costs nothing to begin.
 *
 * The functions of OpenSSL's that work on the caller's memory: one message has
 * half a dozen digests, and contexts from the heap cost more than a small one.
 */
#ifndef MAIL_SHA_H
#define MAIL_SHA_H

#include <popferry/mail.h>

enum { SHA_BLOCK = 64 };
/* Can sha_two_blocks() be called here? */
bool sha_two_known(void);
/* Takes as many whole blocks into one state as into the other. */
void sha_two_blocks(uint32_t a[8], const unsigned char *ap, uint32_t b[8],
	const unsigned char *bp, size_t blocks);

#endif
