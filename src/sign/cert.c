/* cert.c: whose certificate it is, what it is for, and who vouches for it. */
#include "own.h"

#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The name people know a party by, else the whole subject. */
void cert_name(char *out, size_t cap, X509 *x)
{
	BIO *mem = BIO_new(BIO_s_mem());
	char *p = NULL;
	long n = 0;

	if (mem &&
		X509_NAME_print_ex(mem, X509_get_subject_name(x), 0,
			XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB) >= 0)
		n = BIO_get_mem_data(mem, &p);
	text_clean(out, cap, p ? p : "", n > 0 ? (size_t)n : 0);
	BIO_free(mem);
}

void cert_sha256(char out[65], X509 *x)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	out[0] = '\0';
	if (X509_digest(x, EVP_sha256(), md, &n) == 1 && n == 32)
		text_hex(out, md, n);
}

int64_t asn1_seconds(const ASN1_TIME *t)
{
	struct tm tm;

	return t && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : INT64_MIN;
}

const char *cert_unfit(X509 *x)
{
	const uint32_t other = XKU_SSL_SERVER | XKU_SSL_CLIENT | XKU_OCSP_SIGN |
		XKU_TIMESTAMP | XKU_DVCS | XKU_SGC;
	const uint32_t good = XKU_SMIME | XKU_CODE_SIGN | XKU_ANYEKU;
	uint32_t xku = X509_get_extended_key_usage(x);

	if (!(X509_get_key_usage(x) & (KU_DIGITAL_SIGNATURE | KU_NON_REPUDIATION)))
		return "its key usage does not allow signatures";
	if (xku != UINT32_MAX && (xku & other) && !(xku & good))
		return "it is for other things than documents (extended key usage)";
	return NULL;
}

bool digest_strong(int nid)
{
	const EVP_MD *md = EVP_get_digestbynid(nid);

	return md && EVP_MD_get_size(md) >= 32;
}

const char *ssl_reason(void)
{
	unsigned long e = ERR_peek_last_error();
	const char *text = e ? ERR_reason_error_string(e) : NULL;

	ERR_clear_error();
	return text ? text : "unknown reason";
}

enum status store_open(X509_STORE **out, const char *path, struct err *err)
{
	X509_STORE *s = X509_STORE_new();
	STACK_OF(X509) *certs = NULL;
	enum status rc = ST_OK;
	int i;

	if (!s)
		xmemory_gone();
	if (path)
		rc = cert_read(&certs, "trusted certificates", path, err);
	else
		X509_STORE_set_default_paths(
			s); /* a system without any trusts nobody */
	for (i = 0; rc == ST_OK && i < sk_X509_num(certs); i++)
		if (X509_STORE_add_cert(s, sk_X509_value(certs, i)) != 1)
			rc = err_set(err, ST_DENIED, EX_CONFIG,
				"trusted certificates %s: %s", path, ssl_reason());
	sk_X509_pop_free(certs, X509_free);
	ERR_clear_error();
	if (rc == ST_OK) {
		/* A certificate that is named is believed, whoever issued it. */
		X509_STORE_set_flags(s, X509_V_FLAG_PARTIAL_CHAIN);
		*out = s;
		s = NULL;
	}
	X509_STORE_free(s);
	return rc;
}

/* Whether somebody is not known, or something is wrong. */
static enum sign_verdict meaning(X509_STORE_CTX *ctx, int64_t at, char why[ERR_TEXT])
{
	X509 *x = X509_STORE_CTX_get_current_cert(ctx);
	int code = X509_STORE_CTX_get_error(ctx);
	char name[256] = "?", when[24] = "?", then[24];

	if (x)
		cert_name(name, sizeof(name), x);
	clock_rfc3339(then, at);
	switch (code) {
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_CERT_UNTRUSTED:
		snprintf(why, ERR_TEXT,
			"the certificate of \"%.200s\" is not among those trusted here, nor "
			"is its issuer",
			name);
		return SIGN_UNKNOWN;
	case X509_V_ERR_CERT_HAS_EXPIRED:
		if (x)
			clock_rfc3339(when, asn1_seconds(X509_get0_notAfter(x)));
		snprintf(why, ERR_TEXT,
			"the certificate of \"%.200s\" expired at %s, before %s", name,
			when, then);
		return SIGN_BAD;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		if (x)
			clock_rfc3339(when, asn1_seconds(X509_get0_notBefore(x)));
		snprintf(why, ERR_TEXT,
			"the certificate of \"%.200s\" is valid only from %s on, after %s",
			name, when, then);
		return SIGN_BAD;
	case X509_V_ERR_INVALID_PURPOSE:
		snprintf(why, ERR_TEXT,
			"the certificate of \"%.200s\" is not meant for this", name);
		return SIGN_BAD;
	default:
		snprintf(why, ERR_TEXT, "the certificate of \"%.200s\" is no good: %s",
			name, X509_verify_cert_error_string(code));
		return SIGN_BAD;
	}
}

enum sign_verdict cert_chain(X509_STORE *store, X509 *x, STACK_OF(X509) * others,
	int purpose, int64_t at, STACK_OF(X509) * *chain, char why[ERR_TEXT])
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	enum sign_verdict verdict = SIGN_TRUSTED;
	X509_VERIFY_PARAM *p;

	if (!ctx || X509_STORE_CTX_init(ctx, store, x, others) != 1)
		xmemory_gone();
	p = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_time(p, (time_t)at);
	X509_VERIFY_PARAM_set_purpose(p, purpose);
	if (X509_verify_cert(ctx) != 1)
		verdict = meaning(ctx, at, why);
	else if (chain)
		*chain = X509_STORE_CTX_get1_chain(ctx);
	X509_STORE_CTX_free(ctx);
	ERR_clear_error();
	return verdict;
}

/* ---- trust ---- */

enum status sign_trust_open(
	struct sign_trust **out, const char *signers, const char *tsas, struct err *err)
{
	struct sign_trust *t = xcalloc(1, sizeof(*t));
	enum status rc = ST_OK;

	if (signers)
		rc = store_open(&t->signers, signers, err);
	if (rc == ST_OK)
		rc = store_open(&t->tsas, tsas, err);
	if (rc == ST_OK) {
		*out = t;
		t = NULL;
	}
	sign_trust_close(&t);
	return rc;
}

void sign_trust_close(struct sign_trust **t)
{
	if (!*t)
		return;
	X509_STORE_free((*t)->signers);
	X509_STORE_free((*t)->tsas);
	free(*t);
	*t = NULL;
}
