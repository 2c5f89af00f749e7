/* sha.h: SHA-256 that cannot fail; OpenSSL's fails only when memory is out. */
#ifndef MAIL_SHA_H
#define MAIL_SHA_H

#include <popferry/mail.h>

struct evp_md_ctx_st;
struct sha {
	struct evp_md_ctx_st *md;
};

void sha_init(struct sha *s);
void sha_copy(struct sha *s, const struct sha *from); /* s gets its own */
void sha_release(struct sha *s);
void sha_add(struct sha *s, const void *p, size_t n);
/* The digest of what came so far; s begins anew. */
void sha_end(struct sha *s, unsigned char out[DIGEST]);

#endif
