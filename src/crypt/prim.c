/* prim.c: the primitives, by OpenSSL. */
#include "own.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>

const char *openssl_reason(void)
{
	unsigned long e = ERR_peek_last_error();
	const char *text = e ? ERR_reason_error_string(e) : NULL;

	ERR_clear_error();
	return text ? text : "OpenSSL does not say why";
}

/* ---- authenticated encryption ---- */

enum status aead_new(EVP_CIPHER_CTX **out, enum aead which,
	const unsigned char key[CRYPT_KEY], struct err *err)
{
	const EVP_CIPHER *type = which == AEAD_GCM ? EVP_aes_256_gcm()
						   : EVP_chacha20_poly1305();
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();

	if (!c)
		xmemory_gone();
	if (EVP_CipherInit_ex(c, type, NULL, key, NULL, 1) != 1) {
		EVP_CIPHER_CTX_free(c);
		return err_set(err, ST_DENIED, EX_CONFIG,
			"OpenSSL has no %s here (%s); is it set up for FIPS? Then encrypt to "
			"certificates",
			which == AEAD_GCM ? "AES-256-GCM" : "ChaCha20-Poly1305",
			openssl_reason());
	}
	*out = c;
	return ST_OK;
}

void aead_seal(EVP_CIPHER_CTX *c, const unsigned char nonce[NONCE], const void *ad,
	size_t ad_n, const void *in, size_t n, unsigned char *out)
{
	int k;

	/* With a cipher and a key that were good these can lack nothing but memory. */
	if (EVP_EncryptInit_ex(c, NULL, NULL, NULL, nonce) != 1 ||
		(ad_n && EVP_EncryptUpdate(c, NULL, &k, ad, (int)ad_n) != 1) ||
		EVP_EncryptUpdate(c, out, &k, in, (int)n) != 1 ||
		EVP_EncryptFinal_ex(c, out + n, &k) != 1 ||
		EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, TAG, out + n) != 1)
		xmemory_gone();
}

bool aead_unseal(EVP_CIPHER_CTX *c, const unsigned char nonce[NONCE], const void *ad,
	size_t ad_n, const unsigned char *in, size_t n, unsigned char *out)
{
	unsigned char tag[TAG];
	bool ok;
	int k;

	memcpy(tag, in + n, TAG);
	ok = EVP_DecryptInit_ex(c, NULL, NULL, NULL, nonce) == 1 &&
		(!ad_n || EVP_DecryptUpdate(c, NULL, &k, ad, (int)ad_n) == 1) &&
		EVP_DecryptUpdate(c, out, &k, in, (int)n) == 1 &&
		EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, TAG, tag) == 1 &&
		EVP_DecryptFinal_ex(c, out + n, &k) == 1;
	if (!ok) {
		/* Bytes that are not what was sealed go nowhere. */
		OPENSSL_cleanse(out, n);
		ERR_clear_error();
	}
	return ok;
}

/* ---- keys ---- */

enum status random_bytes(void *p, size_t n, struct err *err)
{
	if (RAND_priv_bytes(p, (int)n) == 1)
		return ST_OK;
	return err_set(err, ST_FATAL, EX_TEMPFAIL, "OpenSSL gives no random bytes: %s",
		openssl_reason());
}

bool hkdf(unsigned char out[DIGEST], const void *key, size_t key_n, const void *salt,
	size_t salt_n, const char *info)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *c = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	OSSL_PARAM p[] = {
		OSSL_PARAM_construct_utf8_string(
			OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_KEY, (void *)key, key_n),
		OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_INFO, (void *)info, strlen(info)),
		OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_SALT, (void *)salt, salt_n),
		OSSL_PARAM_construct_end(),
	};
	bool ok;

	if (!salt_n)
		p[3] = OSSL_PARAM_construct_end();
	ok = c && EVP_KDF_derive(c, out, DIGEST, p) == 1;
	EVP_KDF_CTX_free(c);
	EVP_KDF_free(kdf);
	return ok;
}

bool x25519(unsigned char out[POINT], const unsigned char secret[POINT],
	const unsigned char point[POINT])
{
	EVP_PKEY *own = EVP_PKEY_new_raw_private_key(
		EVP_PKEY_X25519, NULL, secret, POINT);
	EVP_PKEY *peer = EVP_PKEY_new_raw_public_key(
		EVP_PKEY_X25519, NULL, point, POINT);
	EVP_PKEY_CTX *c = own ? EVP_PKEY_CTX_new(own, NULL) : NULL;
	size_t n = POINT;
	/* OpenSSL refuses a result that is all zeros. */
	bool ok = c && peer && EVP_PKEY_derive_init(c) == 1 &&
		EVP_PKEY_derive_set_peer(c, peer) == 1 &&
		EVP_PKEY_derive(c, out, &n) == 1 && n == POINT;

	EVP_PKEY_CTX_free(c);
	EVP_PKEY_free(peer);
	EVP_PKEY_free(own);
	ERR_clear_error();
	return ok;
}

bool x25519_public(unsigned char out[POINT], const unsigned char secret[POINT])
{
	EVP_PKEY *own = EVP_PKEY_new_raw_private_key(
		EVP_PKEY_X25519, NULL, secret, POINT);
	size_t n = POINT;
	bool ok = own && EVP_PKEY_get_raw_public_key(own, out, &n) == 1;

	EVP_PKEY_free(own);
	ERR_clear_error();
	return ok;
}

/* ---- base64 ---- */

bool bare_base64(unsigned char *out, size_t cap, size_t *n, const char *s, size_t s_n)
{
	uint32_t bits = 0;
	unsigned have = 0;
	size_t i;

	*n = 0;
	for (i = 0; i < s_n; i++) {
		int v = text_sextet(s[i]);

		if (v < 0)
			return false;
		bits = bits << 6 | (uint32_t)v;
		have += 6;
		if (have < 8)
			continue;
		have -= 8;
		if (*n == cap)
			return false;
		out[(*n)++] = (unsigned char)(bits >> have);
	}
	/* What is left over must be zeros, and not a whole character. */
	return have < 6 && (bits & ((1u << have) - 1)) == 0;
}

void bare_base64_add(struct buf *b, const void *p, size_t n)
{
	text_base64(b, p, n);
	while (b->n && b->p[b->n - 1] == '=')
		b->p[--b->n] = '\0';
}
