/*
 * canon.h: digests of text that do not depend on how its lines end.
 *
 * strict: CRLF, CR and LF are one line end each, and so is any number of CRs
 * before an LF (CR CR LF is what a server makes of CRLF that it took for LF).
 * loose: every CR deleted, NUL as 0x80. Line ends at the very end do not
 * count in either. They differ from the first lone CR or NUL on only, and
 * until then are one computation.
 */
#ifndef MAIL_CANON_H
#define MAIL_CANON_H

#include "sha.h"

enum { CANON_BLOCK = 16 * 1024 };

struct canon_out {
	struct sha sha;
	uint64_t ends; /* line ends seen and not given out: perhaps the last */
	size_t fill;
	char block[CANON_BLOCK];
};

struct canon {
	size_t crs; /* CRs at the end of the input so far */
	struct canon_out strict;
	struct canon_out *loose; /* NULL while equal to strict */
};

/* fresh: any begun and empty SHA-256, cheaper to copy than to make. */
void canon_init(struct canon *c, const struct sha *fresh);
void canon_release(struct canon *c);
/* plain: it is known that there is no NUL and no lone CR. */
void canon_put(struct canon *c, const char *p, size_t n, bool plain);
/* A CR that has come is not the start of a CRLF: what follows stands elsewhere. */
void canon_settle(struct canon *c);
/* Gives the digests and begins anew. loose may be NULL. */
void canon_end(struct canon *c, unsigned char strict[DIGEST], unsigned char *loose);

#endif
