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

/* What a block of 16 KiB leaves, and some line ends before it. */
enum { CANON_BLOCK = 17 * 1024 };

/* The text so far: what is hashed, `ends` line ends, and the block. */
struct canon_out {
	struct sha sha;
	uint64_t ends;
	size_t fill;
	char block[CANON_BLOCK];
};

struct canon {
	size_t crs; /* CRs at the end of the input so far */
	/* Bytes of another digest, which is taken further beside the strict one. */
	struct sha *beside;
	const char *p;
	size_t n;
	struct canon_out *loose; /* NULL while equal to strict */
	struct canon_out strict; /* the last: its block need not be set to anything */
};

void canon_init(struct canon *c);
void canon_release(struct canon *c);
/*
 * n bytes at p are waiting to be added to s: they are when c has as much to add, or
 * at the latest in canon_sync(). Two digests together cost hardly more than one.
 */
void canon_beside(struct canon *c, struct sha *s, const char *p, size_t n);
void canon_sync(struct canon *c);
/* plain: it is known that there is no NUL and no lone CR. */
void canon_put(struct canon *c, const char *p, size_t n, bool plain);
/* A CR that has come is not the start of a CRLF: what follows stands elsewhere. */
void canon_settle(struct canon *c);
/* Gives the digests and begins anew. loose may be NULL. */
void canon_end(struct canon *c, unsigned char strict[DIGEST], unsigned char *loose);

#endif
