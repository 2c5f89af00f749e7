/* recipient.c: whom a file is encrypted to. */
#include "own.h"

#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECIPIENTS_MAX = 256, RSA_LEAST = 2048, EC_LEAST = 256 };

void recipients_open(struct recipients **out)
{
	*out = xcalloc(1, sizeof(**out));
}

void recipients_close(struct recipients **r)
{
	size_t i;

	if (!*r)
		return;
	for (i = 0; i < (*r)->n; i++) {
		struct recipient *v = &(*r)->v[i];

		free(v->name);
		X509_free(v->cert);
		if (v->passphrase)
			wipe_free(v->passphrase, strlen(v->passphrase));
	}
	free((*r)->v);
	free(*r);
	*r = NULL;
}

enum crypt_kind recipients_kind(const struct recipients *r)
{
	return r->kind;
}

size_t recipients_count(const struct recipients *r)
{
	return r->n;
}

const char *recipients_name(const struct recipients *r, size_t i)
{
	return r->v[i].name;
}

/* name is taken over. ST_END: it is there already. */
static enum status add(struct recipients *r, enum crypt_kind kind, char *name,
	struct recipient **out, struct err *err)
{
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < r->n; i++)
		if (strcmp(r->v[i].name, name) == 0)
			rc = ST_END;
	if (rc == ST_OK && r->n && (r->kind != kind || r->v[0].passphrase))
		rc = err_set(err, ST_DENIED, EX_USAGE,
			r->v[0].passphrase
				? "a passphrase cannot be together with other recipients"
				: "one file cannot be encrypted to age recipients and to "
				  "certificates: name one kind only");
	if (rc == ST_OK && r->n == RECIPIENTS_MAX)
		rc = err_set(err, ST_DENIED, EX_USAGE, "more than %d recipients",
			RECIPIENTS_MAX);
	if (rc != ST_OK) {
		free(name);
		return rc;
	}
	r->v = xreallocarray(r->v, r->n + 1, sizeof(*r->v));
	*out = &r->v[r->n++];
	**out = (struct recipient){ .name = name };
	r->kind = kind;
	return ST_OK;
}

/* ---- age ---- */

static enum status add_age(
	struct recipients *r, const char *s, size_t n, struct err *err)
{
	struct buf name = BUF_INIT(CRYPT_RECIPIENT);
	unsigned char point[POINT];
	struct recipient *v;
	enum status rc;

	if (n > 15 && text_same_n(s, "AGE-SECRET-KEY-", 15))
		return err_set(err, ST_DENIED, EX_CONFIG,
			"that is a secret key: whoever reads it can decrypt everything; name "
			"its recipient, \"age1...\", and keep the key elsewhere");
	if (!bech32_read(point, "age", s, n))
		return err_set(err, ST_DENIED, EX_CONFIG,
			"is no recipient of age: it has \"age1\" and 58 letters and digits, and "
			"here one of them is wrong, or missing");
	/* Spelled in one way, so that who is named twice is one. */
	bech32_write(&name, "age", point);
	rc = add(r, CRYPT_AGE, buf_take(&name), &v, err);
	if (rc == ST_OK)
		memcpy(v->point, point, POINT);
	return rc == ST_END ? ST_OK : rc;
}

enum status recipients_add_passphrase(
	struct recipients *r, const char *passphrase, struct err *err)
{
	struct recipient *v;
	enum status rc;

	if (r->n || !*passphrase)
		return err_set(err, ST_DENIED, EX_USAGE,
			r->n ? "a passphrase cannot be together with other recipients"
			     : "the passphrase is empty");
	rc = add(r, CRYPT_AGE, xstrdup("passphrase"), &v, err);
	if (rc == ST_OK)
		v->passphrase = xstrdup(passphrase);
	return rc;
}

/* ---- certificates ---- */

void recipients_expired(struct recipients *r)
{
	r->expired = true;
}

/* NULL, or why nothing can be encrypted to it. */
static const char *unfit(X509 *x, bool expired)
{
	EVP_PKEY *key = X509_get0_pubkey(x);
	uint32_t usage = X509_get_key_usage(x); /* all, when it says nothing */
	int type = key ? EVP_PKEY_base_id(key) : NID_undef;

	if (!expired && X509_cmp_current_time(X509_get0_notAfter(x)) < 0)
		return "it has expired: use another one; an archive that has it "
		       "takes no more mail, begin a new one";
	if (X509_cmp_current_time(X509_get0_notBefore(x)) > 0)
		return "it is not valid yet; is our clock right?";
	if (type != EVP_PKEY_RSA && type != EVP_PKEY_EC)
		return "its key is neither RSA nor EC";
	if (EVP_PKEY_bits(key) < (type == EVP_PKEY_RSA ? RSA_LEAST : EC_LEAST))
		return "its key is too short: RSA needs 2048 bits, EC 256";
	if (type == EVP_PKEY_RSA && !(usage & KU_KEY_ENCIPHERMENT))
		return "its key usage does not allow keyEncipherment: it is for signing";
	if (type == EVP_PKEY_EC && !(usage & KU_KEY_AGREEMENT))
		return "its key usage does not allow keyAgreement: it is for signing";
	return NULL;
}

static enum status add_cert(struct recipients *r, X509 *x, struct err *err)
{
	unsigned char sha[DIGEST];
	char hex[2 * DIGEST + 1], name[256] = "";
	const char *why = unfit(x, r->expired);
	struct recipient *v;
	unsigned n = 0;
	enum status rc;

	if (why) {
		X509_NAME_oneline(X509_get_subject_name(x), name, (int)sizeof(name));
		return err_set(err, ST_DENIED, EX_CONFIG,
			"nothing can be encrypted to the certificate of %s: %s", name,
			why);
	}
	if (X509_digest(x, EVP_sha256(), sha, &n) != 1)
		xmemory_gone();
	rc = add(r, CRYPT_CMS, xasprintf("sha256:%s", text_hex(hex, sha, DIGEST)), &v,
		err);
	if (rc == ST_OK) {
		X509_up_ref(x);
		v->cert = x;
	}
	return rc == ST_END ? ST_OK : rc;
}

static enum status add_pem(
	struct recipients *r, const char *text, size_t n, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(text, (int)n);
	enum status rc = ST_OK;
	size_t found = 0;
	X509 *x;

	if (!bio)
		xmemory_gone();
	while (rc == ST_OK && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		rc = add_cert(r, x, err);
		X509_free(x);
		found++;
	}
	BIO_free(bio);
	ERR_clear_error();
	if (rc == ST_OK && !found)
		rc = err_set(err, ST_DENIED, EX_CONFIG, "holds no certificate in PEM");
	return rc;
}

void recipients_pem(const struct recipients *r, struct buf *out)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *p = NULL;
	size_t i;
	long n;

	if (!bio)
		xmemory_gone();
	for (i = 0; i < r->n; i++)
		if (r->v[i].cert && !PEM_write_bio_X509(bio, r->v[i].cert))
			xmemory_gone();
	n = BIO_get_mem_data(bio, &p);
	if (n > 0)
		buf_add(out, p, (size_t)n);
	BIO_free(bio);
}

/* ---- both ---- */

static enum status add_lines(
	struct recipients *r, const char *text, size_t n, struct err *err)
{
	struct lines l = { text, text + n, 0 };
	enum status rc = ST_OK;
	size_t found = 0, k;
	const char *s;

	while (rc == ST_OK && lines_next(&l, &s, &k)) {
		rc = add_age(r, s, k, err);
		if (rc != ST_OK)
			err_note(err, "line %u", l.no);
		found++;
	}
	if (rc == ST_OK && !found)
		rc = err_set(err, ST_DENIED, EX_CONFIG,
			"holds neither a certificate in PEM nor a recipient of age");
	return rc;
}

enum status recipients_add(struct recipients *r, const char *text, struct err *err)
{
	enum status rc;
	char *p = NULL;
	size_t n = 0;

	if (text_starts(text, "age1") || text_starts(text, "AGE1") ||
		text_starts(text, "AGE-SECRET-KEY-")) {
		rc = add_age(r, text, strlen(text), err);
		/* A secret must not be told again. */
		return rc == ST_OK || !text_starts(text, "age1")
			? rc
			: err_note(err, "%s", text);
	}
	rc = key_file_read(&p, &n, text, false, err);
	if (rc != ST_OK)
		return rc;
	rc = strstr(p, "-----BEGIN ") ? add_pem(r, p, n, err) : add_lines(r, p, n, err);
	wipe_free(p, n);
	return rc == ST_OK ? rc : err_note(err, "%s", text);
}
