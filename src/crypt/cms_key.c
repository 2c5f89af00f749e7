/*
 * cms_key.c: the content key and its RecipientInfos, which OpenSSL makes and opens.
 *
 * OpenSSL keeps the content key to itself, and decrypts only what is whole in memory
 * (more than three times the size of it). So it is asked to wrap the key for one more
 * recipient, whose key we have; that one is in no file.
 */
#include "own.h"

#include <popferry/mem.h>

#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

enum { MINI_MAX = 2 * 1024 * 1024 };

static enum status failed(struct err *err, const char *what)
{
	return err_set(err, ST_DENIED, EX_CONFIG, "OpenSSL cannot %s: %s", what,
		openssl_reason());
}

/* ---- the one more ---- */

static bool unwrap(unsigned char key[CRYPT_KEY], const unsigned char kek[CRYPT_KEY],
	const unsigned char wrapped[CRYPT_KEY + 8])
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	unsigned char out[CRYPT_KEY + 8];
	int n = 0, k = 0;
	bool ok;

	if (!c)
		xmemory_gone();
	EVP_CIPHER_CTX_set_flags(c, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	ok = EVP_DecryptInit_ex(c, EVP_aes_256_wrap(), NULL, kek, NULL) == 1 &&
		EVP_DecryptUpdate(c, out, &n, wrapped, CRYPT_KEY + 8) == 1 &&
		EVP_DecryptFinal_ex(c, out + n, &k) == 1 && n + k == CRYPT_KEY;
	if (ok)
		memcpy(key, out, CRYPT_KEY);
	OPENSSL_cleanse(out, sizeof(out));
	EVP_CIPHER_CTX_free(c);
	return ok;
}

static CMS_RecipientInfo *add_kek(
	CMS_ContentInfo *cms, const unsigned char kek[CRYPT_KEY])
{
	static const unsigned char name[] = "own";
	unsigned char *key = OPENSSL_memdup(kek, CRYPT_KEY),
		      *id = OPENSSL_memdup(name, sizeof(name));
	CMS_RecipientInfo *ri = key && id
		? CMS_add0_recipient_key(cms, NID_id_aes256_wrap, key, CRYPT_KEY, id,
			  sizeof(name), NULL, NULL, NULL)
		: NULL;

	if (!ri) {
		OPENSSL_clear_free(key, CRYPT_KEY);
		OPENSSL_free(id);
	}
	return ri;
}

/* Its DER, and what kek opens in it. infos of f are replaced. */
static bool take_key(struct cms_frame *f, unsigned char key[CRYPT_KEY],
	CMS_ContentInfo *cms, const unsigned char kek[CRYPT_KEY])
{
	unsigned char wrapped[CRYPT_KEY + 8], *der = NULL;
	int n = i2d_CMS_ContentInfo(cms, &der);
	bool ok;

	free(f->infos);
	f->infos = NULL;
	ok = n > 0 && ber_infos(f, wrapped, der, (size_t)n) &&
		unwrap(key, kek, wrapped);
	OPENSSL_free(der);
	return ok;
}

/* ---- making ---- */

static bool add_cert(CMS_ContentInfo *cms, X509 *x)
{
	CMS_RecipientInfo *ri = CMS_add1_recipient_cert(cms, x, CMS_KEY_PARAM);
	EVP_PKEY_CTX *c = ri ? CMS_RecipientInfo_get0_pkey_ctx(ri) : NULL;

	if (!c)
		return false;
	if (EVP_PKEY_base_id(X509_get0_pubkey(x)) == EVP_PKEY_EC)
		return EVP_PKEY_CTX_set_ecdh_kdf_md(c, EVP_sha256()) > 0;
	return EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_OAEP_PADDING) > 0 &&
		EVP_PKEY_CTX_set_rsa_oaep_md(c, EVP_sha256()) > 0 &&
		EVP_PKEY_CTX_set_rsa_mgf1_md(c, EVP_sha256()) > 0;
}

static bool make(struct cms_frame *f, unsigned char key[CRYPT_KEY],
	const struct recipients *r, const unsigned char kek[CRYPT_KEY])
{
	CMS_ContentInfo *cms = CMS_encrypt(
		NULL, NULL, EVP_aes_256_gcm(), CMS_PARTIAL | CMS_BINARY);
	BIO *none = BIO_new_mem_buf("", 0);
	bool ok = cms && none;
	size_t i;

	for (i = 0; ok && i < r->n; i++)
		ok = add_cert(cms, r->v[i].cert);
	ok = ok && add_kek(cms, kek) && CMS_final(cms, none, NULL, CMS_BINARY) == 1 &&
		take_key(f, key, cms, kek);
	BIO_free(none);
	CMS_ContentInfo_free(cms);
	return ok;
}

enum status cms_wrap(struct cms_frame *f, unsigned char key[CRYPT_KEY],
	const struct recipients *r, struct err *err)
{
	unsigned char kek[CRYPT_KEY];
	enum status rc = random_bytes(kek, sizeof(kek), err);

	if (rc == ST_OK)
		rc = random_bytes(f->nonce, sizeof(f->nonce), err);
	if (rc == ST_OK && !make(f, key, r, kek))
		rc = failed(err, "encrypt to these certificates");
	OPENSSL_cleanse(kek, sizeof(kek));
	return rc;
}

/* ---- opening ---- */

/* With the older padding a wrong key gives a key too, and not a failure. */
static bool is_oaep(CMS_RecipientInfo *ri)
{
	X509_ALGOR *alg = NULL;

	CMS_RecipientInfo_ktri_get0_algs(ri, NULL, NULL, &alg);
	return alg && OBJ_obj2nid(alg->algorithm) == NID_rsaesOaep;
}

static bool by_transport(CMS_ContentInfo *cms, CMS_RecipientInfo *ri, EVP_PKEY *pkey)
{
	bool ok;

	if (EVP_PKEY_base_id(pkey) != EVP_PKEY_RSA || !is_oaep(ri) ||
		EVP_PKEY_up_ref(pkey) != 1)
		return false;
	CMS_RecipientInfo_set0_pkey(ri, pkey);
	ok = CMS_RecipientInfo_decrypt(cms, ri) == 1;
	CMS_RecipientInfo_set0_pkey(ri, NULL);
	return ok;
}

static bool by_agreement(CMS_ContentInfo *cms, CMS_RecipientInfo *ri, EVP_PKEY *pkey)
{
	STACK_OF(CMS_RecipientEncryptedKey) *keys = CMS_RecipientInfo_kari_get0_reks(
		ri);
	bool ok = false;
	int i;

	for (i = 0; !ok && i < sk_CMS_RecipientEncryptedKey_num(keys); i++)
		ok = CMS_RecipientInfo_kari_set0_pkey(ri, pkey) == 1 &&
			CMS_RecipientInfo_kari_decrypt(cms, ri,
				sk_CMS_RecipientEncryptedKey_value(keys, i)) == 1;
	CMS_RecipientInfo_kari_set0_pkey(ri, NULL);
	return ok;
}

static bool opened(CMS_ContentInfo *cms, EVP_PKEY *pkey)
{
	STACK_OF(CMS_RecipientInfo) *all = CMS_get0_RecipientInfos(cms);
	bool ok = false;
	int i;

	for (i = 0; !ok && i < sk_CMS_RecipientInfo_num(all); i++) {
		CMS_RecipientInfo *ri = sk_CMS_RecipientInfo_value(all, i);

		if (CMS_RecipientInfo_type(ri) == CMS_RECIPINFO_TRANS)
			ok = by_transport(cms, ri, pkey);
		else if (CMS_RecipientInfo_type(ri) == CMS_RECIPINFO_AGREE)
			ok = by_agreement(cms, ri, pkey);
	}
	ERR_clear_error();
	return ok;
}

static CMS_ContentInfo *parse(const struct cms_frame *f)
{
	struct buf b = BUF_INIT(MINI_MAX);
	const unsigned char *p;
	CMS_ContentInfo *cms;

	ber_mini(&b, f);
	p = (const unsigned char *)b.p;
	cms = d2i_CMS_ContentInfo(NULL, &p, (long)b.n);
	buf_free(&b);
	ERR_clear_error();
	return cms;
}

enum status cms_unwrap(unsigned char key[CRYPT_KEY], const struct cms_frame *f,
	EVP_PKEY *pkey, struct err *err)
{
	CMS_ContentInfo *cms = parse(f);
	struct cms_frame again = { 0 };
	unsigned char kek[CRYPT_KEY];
	CMS_RecipientInfo *ri;
	enum status rc = random_bytes(kek, sizeof(kek), err);

	if (rc == ST_OK && !cms)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"its list of recipients is damaged");
	if (rc == ST_OK && !opened(cms, pkey))
		rc = ST_END;
	if (rc == ST_OK) {
		ri = add_kek(cms, kek);
		if (!ri || CMS_RecipientInfo_encrypt(cms, ri) != 1 ||
			!take_key(&again, key, cms, kek))
			rc = failed(err, "take the key of this file");
	}
	free(again.infos);
	OPENSSL_cleanse(kek, sizeof(kek));
	CMS_ContentInfo_free(cms);
	return rc;
}
