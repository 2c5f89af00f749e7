/* cms.c: detached signatures (RFC 5652; CAdES-BES, RFC 5126). */
#include "own.h"

#include <popferry/clock.h>
#include <popferry/fault.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIGNERS_MAX = 16 };

/* A plain memory BIO would be copied by CMS_verify(), which loses it when it fails. */
static BIO *over(const char *p, size_t n)
{
	BIO *mem = BIO_new_mem_buf(n ? p : "", (int)n), *top = BIO_new(BIO_f_null());

	if (!mem || !top)
		xmemory_gone();
	return BIO_push(top, mem);
}

/* ---- signing ---- */

static CMS_ContentInfo *make(const struct signer *s, const char *data, size_t n)
{
	const unsigned flags = CMS_PARTIAL | CMS_DETACHED | CMS_BINARY |
		CMS_NOSMIMECAP | CMS_CADES;
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, s->chain, NULL, flags);
	BIO *in = over(data, n);

	if (cms &&
		(!CMS_add1_signer(cms, s->cert, s->key, EVP_sha256(), flags) ||
			CMS_final(cms, in, NULL, flags) != 1)) {
		CMS_ContentInfo_free(cms);
		cms = NULL;
	}
	BIO_free_all(in);
	return cms;
}

/* A faulty token or memory must not be found out in ten years. */
static bool holds(CMS_ContentInfo *cms, const char *data, size_t n)
{
	BIO *in = over(data, n);
	bool ok = CMS_verify(cms, NULL, NULL, in, NULL,
			  CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY) == 1;

	BIO_free_all(in);
	return ok;
}

enum status sign_file(
	const struct signer *s, int dirfd, const char *name, struct err *err)
{
	char *target = mark_name(name, ".p7s"), *data = NULL;
	CMS_ContentInfo *cms = NULL;
	unsigned char *der = NULL;
	enum status rc = ST_END;
	size_t n = 0;
	int der_n;

	if (mark_there(dirfd, target))
		goto out;
	rc = mark_get(&data, &n, dirfd, name, FILE_MAX, err);
	if (rc != ST_OK)
		goto out;
	cms = make(s, data, n);
	der_n = cms && holds(cms, data, n) ? i2d_CMS_ContentInfo(cms, &der) : 0;
	if (der_n <= 0) {
		rc = err_set(err, ST_DENIED, EX_CONFIG,
			"%s cannot be signed with this key: %s", name, ssl_reason());
		goto out;
	}
	rc = mark_put(dirfd, target, der, (size_t)der_n, err);
	if (rc == ST_OK)
		fault_step("signed");
out:
	OPENSSL_free(der);
	CMS_ContentInfo_free(cms);
	free(data);
	free(target);
	return rc;
}

/* ---- checking ---- */

static enum sign_verdict bad(struct sign_mark *m, const char *text)
{
	ERR_clear_error();
	snprintf(m->why, sizeof(m->why), "%s", text);
	return SIGN_BAD;
}

static CMS_ContentInfo *parse(const char *der, size_t n)
{
	const unsigned char *p = (const unsigned char *)der;
	CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)n);

	if (cms && p != (const unsigned char *)der + n) {
		CMS_ContentInfo_free(cms);
		cms = NULL;
	}
	return cms;
}

static bool strong(CMS_ContentInfo *cms)
{
	STACK_OF(CMS_SignerInfo) *all = CMS_get0_SignerInfos(cms);
	int i, nid;

	for (i = 0; i < sk_CMS_SignerInfo_num(all); i++) {
		X509_ALGOR *alg = NULL;

		CMS_SignerInfo_get0_algs(
			sk_CMS_SignerInfo_value(all, i), NULL, NULL, &alg, NULL);
		nid = alg ? OBJ_obj2nid(alg->algorithm) : NID_undef;
		if (!digest_strong(nid))
			return false;
	}
	return true;
}

/* Is it what it should be, and over these bytes? */
static enum sign_verdict intact(struct sign_mark *m, CMS_ContentInfo *cms,
	const char *name, const char *data, size_t n)
{
	const unsigned flags = CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY;
	BIO *in = over(data, n);
	bool ok;

	/* First without the bytes: then it is known which of the two was changed. */
	ok = CMS_verify(cms, NULL, NULL, in, NULL, flags | CMS_NO_CONTENT_VERIFY) == 1;
	BIO_free_all(in);
	if (!ok)
		return bad(m,
			"the signature was changed, or made with another key than "
			"that of the certificate in it");
	in = over(data, n);
	ok = CMS_verify(cms, NULL, NULL, in, NULL, flags) == 1;
	BIO_free_all(in);
	if (ok)
		return SIGN_TRUSTED;
	ERR_clear_error();
	snprintf(m->why, sizeof(m->why),
		"%.200s is not what was signed: it was changed since, or the signature is "
		"that of another file",
		name);
	return SIGN_BAD;
}

static enum sign_verdict each_signer(struct sign_mark *m, CMS_ContentInfo *cms,
	STACK_OF(X509) * signers, const struct sign_trust *t, int64_t at)
{
	STACK_OF(X509) *others = CMS_get1_certs(cms);
	enum sign_verdict verdict = SIGN_TRUSTED;
	const char *unfit;
	char text[ERR_TEXT];
	int i;

	for (i = 0; verdict != SIGN_BAD && i < sk_X509_num(signers); i++) {
		X509 *x = sk_X509_value(signers, i);
		enum sign_verdict v;

		unfit = cert_unfit(x);
		if (unfit) {
			snprintf(m->why, sizeof(m->why),
				"the signer's certificate is not for this: %s", unfit);
			verdict = SIGN_BAD;
			break;
		}
		if (t->signers) {
			v = cert_chain(t->signers, x, others, X509_PURPOSE_ANY, at,
				NULL, text);
		} else {
			v = SIGN_UNKNOWN;
			snprintf(text, sizeof(text),
				"nobody was named as trusted; compare the fingerprint");
		}
		if (v != SIGN_TRUSTED) {
			memcpy(m->why, text, sizeof(text));
			verdict = v;
		}
	}
	sk_X509_pop_free(others, X509_free);
	return verdict;
}

/* What OpenSSL thinks of all of it, the certificate being part of what is signed. */
static enum sign_verdict whole(struct sign_mark *m, CMS_ContentInfo *cms,
	const char *data, size_t n, const struct sign_trust *t, int64_t at)
{
	X509_VERIFY_PARAM *p = X509_STORE_get0_param(t->signers);
	BIO *in = over(data, n);
	bool ok;

	X509_VERIFY_PARAM_set_time(p, (time_t)at);
	X509_VERIFY_PARAM_set_purpose(p, X509_PURPOSE_ANY);
	ok = CMS_verify(cms, NULL, t->signers, in, NULL, CMS_BINARY | CMS_CADES) == 1;
	BIO_free_all(in);
	if (ok)
		return SIGN_TRUSTED;
	snprintf(m->why, sizeof(m->why),
		"the signature does not name its certificate as CAdES asks: %s",
		ssl_reason());
	return SIGN_BAD;
}

static void name_signer(struct sign_mark *m, STACK_OF(X509) * signers)
{
	X509 *first = sk_X509_value(signers, 0);
	int n = sk_X509_num(signers);
	size_t k;

	cert_name(m->by, sizeof(m->by), first);
	cert_sha256(m->sha256, first);
	k = strlen(m->by);
	if (n > 1)
		snprintf(m->by + k, sizeof(m->by) - k, " and %d more", n - 1);
}

void cms_check(struct sign_mark *m, const char *der, size_t der_n, const char *name,
	const char *data, size_t n, const struct sign_trust *t, int64_t at)
{
	CMS_ContentInfo *cms = parse(der, der_n);
	STACK_OF(X509) *signers = NULL;
	STACK_OF(CMS_SignerInfo) * infos;

	if (!cms || OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed ||
		CMS_is_detached(cms) != 1) {
		m->verdict = bad(m, "it is no detached CMS signature in DER");
		goto out;
	}
	infos = CMS_get0_SignerInfos(cms);
	if (sk_CMS_SignerInfo_num(infos) < 1 ||
		sk_CMS_SignerInfo_num(infos) > SIGNERS_MAX) {
		m->verdict = bad(m, "it is a signature by nobody, or by too many");
		goto out;
	}
	if (!strong(cms)) {
		m->verdict = bad(m, "its digest is too weak to prove anything");
		goto out;
	}
	m->verdict = intact(m, cms, name, data, n);
	signers = CMS_get0_signers(cms); /* known once it was verified */
	if (sk_X509_num(signers) > 0)
		name_signer(m, signers);
	if (m->verdict == SIGN_TRUSTED)
		m->verdict = each_signer(m, cms, signers, t, at);
	if (m->verdict == SIGN_TRUSTED)
		m->verdict = whole(m, cms, data, n, t, at);
out:
	sk_X509_free(signers);
	CMS_ContentInfo_free(cms);
	ERR_clear_error();
}
