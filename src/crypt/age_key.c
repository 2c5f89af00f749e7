/* age_key.c: who can have the key of an age file: X25519, scrypt. */
#include "own.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	WRAPPED = FILE_KEY + TAG,
	SALT = 16,
	WORK = 18,      /* as age writes it: a second, 256 MiB */
	WORK_MOST = 20, /* what a file may ask for: 1 GiB */
	SCRYPT_R = 8,
	SCRYPT_P = 1,
};

static const char x25519_info[] = "age-encryption.org/v1/X25519";
static const char scrypt_info[] = "age-encryption.org/v1/scrypt";
/* Each of these keys is used once. */
static const unsigned char nonce[NONCE];

/* ---- both ways ---- */

static bool head_mac(unsigned char out[DIGEST], const unsigned char key[FILE_KEY],
	const char *p, size_t n)
{
	unsigned char k[DIGEST];
	unsigned got = 0;
	bool ok = hkdf(k, key, FILE_KEY, NULL, 0, "header") &&
		HMAC(EVP_sha256(), k, sizeof(k), (const unsigned char *)p, n, out,
			&got) &&
		got == DIGEST;

	OPENSSL_cleanse(k, sizeof(k));
	return ok;
}

/* What one key and the point of another have in common, for this file alone. */
static bool x25519_wrapping(unsigned char out[CRYPT_KEY],
	const unsigned char secret[POINT], const unsigned char with[POINT],
	const unsigned char share[POINT], const unsigned char recipient[POINT])
{
	unsigned char both[2 * POINT], common[POINT];
	bool ok;

	memcpy(both, share, POINT);
	memcpy(both + POINT, recipient, POINT);
	ok = x25519(common, secret, with) &&
		hkdf(out, common, POINT, both, sizeof(both), x25519_info);
	OPENSSL_cleanse(common, sizeof(common));
	return ok;
}

static bool scrypt_wrapping(unsigned char out[CRYPT_KEY], const char *passphrase,
	const unsigned char salt[SALT], unsigned work)
{
	unsigned char all[sizeof(scrypt_info) - 1 + SALT];
	uint64_t cost = UINT64_C(1) << work;
	bool ok;

	memcpy(all, scrypt_info, sizeof(scrypt_info) - 1);
	memcpy(all + sizeof(scrypt_info) - 1, salt, SALT);
	ok = EVP_PBE_scrypt(passphrase, strlen(passphrase), all, sizeof(all), cost,
		     SCRYPT_R, SCRYPT_P, 2 * 128 * SCRYPT_R * cost, out,
		     CRYPT_KEY) == 1;
	ERR_clear_error();
	return ok;
}

static enum status failed(struct err *err)
{
	return err_set(err, ST_FATAL, EX_SOFTWARE,
		"OpenSSL cannot do what age asks for: %s", openssl_reason());
}

/* ---- giving it ---- */

static enum status seal_key(unsigned char out[WRAPPED],
	const unsigned char with[CRYPT_KEY], const unsigned char key[FILE_KEY],
	struct err *err)
{
	EVP_CIPHER_CTX *c = NULL;
	enum status rc = aead_new(&c, AEAD_CHACHA, with, err);

	if (rc == ST_OK)
		aead_seal(c, nonce, NULL, 0, key, FILE_KEY, out);
	EVP_CIPHER_CTX_free(c);
	return rc;
}

static enum status wrap_point(struct buf *out, const unsigned char key[FILE_KEY],
	const unsigned char to[POINT], struct err *err)
{
	unsigned char secret[POINT], share[POINT], with[CRYPT_KEY], body[WRAPPED];
	struct buf args = BUF_INIT(256);
	enum status rc = random_bytes(secret, sizeof(secret), err);

	if (rc == ST_OK &&
		(!x25519_public(share, secret) ||
			!x25519_wrapping(with, secret, to, share, to)))
		rc = failed(err);
	if (rc == ST_OK)
		rc = seal_key(body, with, key, err);
	if (rc == ST_OK) {
		buf_adds(&args, "X25519 ");
		bare_base64_add(&args, share, POINT);
		stanza_write(out, buf_str(&args), body, sizeof(body));
	}
	OPENSSL_cleanse(secret, sizeof(secret));
	OPENSSL_cleanse(with, sizeof(with));
	buf_free(&args);
	return rc;
}

static enum status wrap_passphrase(struct buf *out, const unsigned char key[FILE_KEY],
	const char *passphrase, struct err *err)
{
	unsigned char salt[SALT], with[CRYPT_KEY], body[WRAPPED];
	struct buf args = BUF_INIT(256);
	enum status rc = random_bytes(salt, sizeof(salt), err);

	if (rc == ST_OK && !scrypt_wrapping(with, passphrase, salt, WORK))
		rc = failed(err);
	if (rc == ST_OK)
		rc = seal_key(body, with, key, err);
	if (rc == ST_OK) {
		buf_adds(&args, "scrypt ");
		bare_base64_add(&args, salt, SALT);
		buf_addf(&args, " %d", WORK);
		stanza_write(out, buf_str(&args), body, sizeof(body));
	}
	OPENSSL_cleanse(with, sizeof(with));
	buf_free(&args);
	return rc;
}

enum status age_wrap(struct buf *out, const unsigned char key[FILE_KEY],
	const struct recipients *r, struct err *err)
{
	unsigned char mac[DIGEST];
	enum status rc = ST_OK;
	size_t i;

	buf_adds(out, "age-encryption.org/v1\n");
	for (i = 0; rc == ST_OK && i < r->n; i++)
		rc = r->v[i].passphrase
			? wrap_passphrase(out, key, r->v[i].passphrase, err)
			: wrap_point(out, key, r->v[i].point, err);
	buf_adds(out, "---");
	if (rc == ST_OK && !head_mac(mac, key, out->p, out->n))
		rc = failed(err);
	if (rc != ST_OK)
		return rc;
	buf_addc(out, ' ');
	bare_base64_add(out, mac, sizeof(mac));
	buf_addc(out, '\n');
	return ST_OK;
}

/* ---- having it ---- */

static bool arg_bytes(const struct stanza *s, size_t i, unsigned char *out, size_t n)
{
	size_t k;

	return bare_base64(out, n, &k, s->args[i], s->args_n[i]) && k == n;
}

/* Up to two digits, the first no zero. 0: it is none. */
static unsigned arg_work(const struct stanza *s, size_t i)
{
	unsigned v = 0;
	size_t k;

	for (k = 0; k < s->args_n[i] && k < 3; k++) {
		char c = s->args[i][k];

		if (c < '0' || c > '9' || (k == 0 && c == '0'))
			return 0;
		v = v * 10 + (unsigned)(c - '0');
	}
	return k == 3 ? 0 : v;
}

const char *stanza_fault(const struct stanza *s)
{
	unsigned char bytes[POINT];

	if (stanza_is(s, "X25519")) {
		if (s->n != 2 || !arg_bytes(s, 1, bytes, POINT))
			return "an X25519 recipient is not 32 bytes";
	} else if (stanza_is(s, "scrypt")) {
		if (s->n != 3 || !arg_bytes(s, 1, bytes, SALT) || !arg_work(s, 2))
			return "a passphrase has not its salt and work factor";
		if (arg_work(s, 2) > WORK_MOST)
			return "a passphrase asks for more work than is sane";
	} else {
		return NULL;
	}
	return s->body_n == WRAPPED ? NULL : "a wrapped key is not of its size";
}

/* ST_END: not with this one. */
static enum status unwrap_one(unsigned char key[FILE_KEY], const struct stanza *s,
	const struct identity *id, struct err *err)
{
	unsigned char with[CRYPT_KEY], arg[POINT];
	EVP_CIPHER_CTX *c = NULL;
	enum status rc = ST_END;

	if (id->kind == ID_X25519 && stanza_is(s, "X25519")) {
		arg_bytes(s, 1, arg, POINT);
		if (!x25519_wrapping(with, id->secret, arg, arg, id->point))
			return err_set(err, ST_DENIED, EX_DATAERR,
				"not a right age v1 header: a recipient is a point that "
				"gives no secret");
	} else if (id->kind == ID_PASSPHRASE && stanza_is(s, "scrypt")) {
		arg_bytes(s, 1, arg, SALT);
		if (!scrypt_wrapping(with, id->passphrase, arg, arg_work(s, 2)))
			return err_set(err, ST_DENIED, EX_TEMPFAIL,
				"the passphrase needs more memory than there is");
	} else {
		return ST_END;
	}
	rc = aead_new(&c, AEAD_CHACHA, with, err);
	if (rc == ST_OK && !aead_unseal(c, nonce, NULL, 0, s->body, FILE_KEY, key))
		rc = ST_END;
	EVP_CIPHER_CTX_free(c);
	OPENSSL_cleanse(with, sizeof(with));
	return rc;
}

static enum status check_mac(const unsigned char key[FILE_KEY],
	const struct age_head *h, const char *head, struct err *err)
{
	unsigned char mac[DIGEST];

	if (!head_mac(mac, key, head, h->mac_over))
		return failed(err);
	if (CRYPTO_memcmp(mac, h->mac, sizeof(mac)) != 0)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"the header was changed after it was written: its MAC is wrong");
	return ST_OK;
}

static bool only_passphrase(const struct age_head *h)
{
	return stanza_is(&h->v[0], "scrypt");
}

enum status age_unwrap(unsigned char key[FILE_KEY], const struct age_head *h,
	const char *head, const struct identities *ids, struct err *err)
{
	enum status rc = ST_END;
	size_t i, k;

	for (i = 0; rc == ST_END && i < ids->n; i++) {
		const struct identity *id = &ids->v[i];

		/* The key of one file: is it of this one? */
		if (id->kind == ID_AGE_KEY) {
			memcpy(key, id->secret, FILE_KEY);
			rc = check_mac(key, h, head, NULL) == ST_OK ? ST_OK : ST_END;
			continue;
		}
		for (k = 0; rc == ST_END && k < h->n; k++)
			rc = unwrap_one(key, &h->v[k], id, err);
	}
	if (rc == ST_OK)
		return check_mac(key, h, head, err);
	if (rc != ST_END)
		return rc;
	if (only_passphrase(h))
		return err_set(err, ST_DENIED, EX_NOPERM,
			"it is encrypted with a passphrase, and not with one given");
	return err_set(err, ST_DENIED, EX_NOPERM,
		"none of the identities given opens it: it is for %zu recipient%s and "
		"none is one of these; name the right file with --identity",
		h->n, text_s(h->n));
}
