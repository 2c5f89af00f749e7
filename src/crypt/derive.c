/* derive.c: a key that only those can make who have the identities. */
#include "own.h"

#include <popferry/mem.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_MAX = 4096 }; /* bytes of a private number */

/* The private exponent, or number on a curve. False: it is in a token, which gives it
 * to nobody. */
static bool pkey_number(unsigned char out[DIGEST], EVP_PKEY *pkey)
{
	const char *name = EVP_PKEY_base_id(pkey) == EVP_PKEY_RSA
		? OSSL_PKEY_PARAM_RSA_D
		: OSSL_PKEY_PARAM_PRIV_KEY;
	unsigned char number[NUMBER_MAX];
	BIGNUM *bn = NULL;
	int n = 0;

	if (EVP_PKEY_get_bn_param(pkey, name, &bn) == 1 && !BN_is_zero(bn) &&
		BN_num_bytes(bn) <= NUMBER_MAX)
		n = BN_bn2bin(bn, number);
	BN_clear_free(bn);
	openssl_reason();
	if (n > 0)
		SHA256(number, (size_t)n, out);
	OPENSSL_cleanse(number, sizeof(number));
	return n > 0;
}

/* A passphrase is no secret as good as these: whoever has what was made with it could
 * guess. */
static bool digest_of(unsigned char out[DIGEST], const struct identity *id)
{
	if (id->kind == ID_PKEY)
		return pkey_number(out, id->pkey);
	if (id->kind != ID_X25519)
		return false;
	SHA256(id->secret, POINT, out);
	return true;
}

/* In their order, and each once; by hand, since qsort() may leave copies behind. */
static size_t sort_in(
	unsigned char (*all)[DIGEST], size_t n, const unsigned char one[DIGEST])
{
	size_t at = 0;

	while (at < n && memcmp(all[at], one, DIGEST) < 0)
		at++;
	if (at < n && memcmp(all[at], one, DIGEST) == 0)
		return n;
	memmove(all[at + 1], all[at], (n - at) * DIGEST);
	memcpy(all[at], one, DIGEST);
	return n + 1;
}

enum status identities_derive(unsigned char key[CRYPT_KEY], const struct identities *i,
	const char *salt, const char *info, struct err *err)
{
	unsigned char(*all)[DIGEST] = xcalloc(i->n + 1, DIGEST), one[DIGEST];
	enum status rc = i->n ? ST_OK : ST_END;
	size_t n = 0, k;

	for (k = 0; rc == ST_OK && k < i->n; k++)
		if (digest_of(one, &i->v[k]))
			n = sort_in(all, n, one);
		else
			rc = ST_END;
	if (rc == ST_OK && !hkdf(key, all, n * DIGEST, salt, strlen(salt), info))
		rc = err_set(err, ST_FATAL, EX_SOFTWARE, "OpenSSL has no HKDF: %s",
			openssl_reason());
	OPENSSL_cleanse(one, sizeof(one));
	wipe_free(all, (i->n + 1) * DIGEST);
	return rc;
}
