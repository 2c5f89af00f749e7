/* veil.c: AES-256-CTR whose key dies with the process. */
#include "own.h"

#include <popferry/mem.h>

#include <openssl/crypto.h>
#include <string.h>

enum { BLOCK = 16, PIECE = 1 << 30 };

struct veil {
	EVP_CIPHER *type;
	unsigned char key[CRYPT_KEY];
};

enum status veil_open(struct veil **out, struct err *err)
{
	struct veil *v = xcalloc(1, sizeof(*v));
	enum status rc = random_bytes(v->key, sizeof(v->key), err);

	if (rc == ST_OK) {
		v->type = EVP_CIPHER_fetch(NULL, "AES-256-CTR", NULL);
		if (!v->type)
			rc = err_set(err, ST_FATAL, EX_CONFIG,
				"OpenSSL has no AES-256-CTR here: %s",
				openssl_reason());
	}
	if (rc != ST_OK)
		veil_close(&v);
	*out = v;
	return rc;
}

void veil_close(struct veil **v)
{
	if (!*v)
		return;
	EVP_CIPHER_free((*v)->type);
	wipe_free(*v, sizeof(**v));
	*v = NULL;
}

void veil_apply(const struct veil *v, uint64_t off, const void *in, void *out, size_t n)
{
	unsigned char counter[BLOCK] = { 0 }, skip[BLOCK];
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	const unsigned char *from = in;
	unsigned char *to = out;
	size_t i, before = (size_t)(off % BLOCK);
	int k;

	for (i = 0; i < 8; i++)
		counter[BLOCK - 1 - i] = (unsigned char)(off / BLOCK >> 8 * i);
	memset(skip, 0, sizeof(skip));
	if (!c || EVP_EncryptInit_ex2(c, v->type, v->key, counter, NULL) != 1 ||
		EVP_EncryptUpdate(c, skip, &k, skip, (int)before) != 1)
		xmemory_gone();
	for (; n; n -= (size_t)k, from += k, to += k)
		if (EVP_EncryptUpdate(
			    c, to, &k, from, n < PIECE ? (int)n : (int)PIECE) != 1)
			xmemory_gone();
	EVP_CIPHER_CTX_free(c);
}
