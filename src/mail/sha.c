/* sha.c: SHA-256 by OpenSSL, which takes the processor's own instructions. */
#include "sha.h"

#include <popferry/mem.h>

#include <openssl/evp.h>

static void must(int ok)
{
	if (!ok)
		xmemory_gone();
}

void sha_init(struct sha *s)
{
	s->md = EVP_MD_CTX_new();
	must(s->md != NULL);
	must(EVP_DigestInit_ex(s->md, EVP_sha256(), NULL));
}

void sha_copy(struct sha *s, const struct sha *from)
{
	s->md = EVP_MD_CTX_new();
	must(s->md != NULL);
	must(EVP_MD_CTX_copy_ex(s->md, from->md));
}

void sha_release(struct sha *s)
{
	EVP_MD_CTX_free(s->md);
	s->md = NULL;
}

void sha_add(struct sha *s, const void *p, size_t n)
{
	must(EVP_DigestUpdate(s->md, p, n));
}

void sha_end(struct sha *s, unsigned char out[DIGEST])
{
	must(EVP_DigestFinal_ex(s->md, out, NULL));
	must(EVP_DigestInit_ex(s->md, NULL, NULL));
}
