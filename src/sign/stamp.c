/* stamp.c: timestamps (RFC 3161): what is asked, and whether the answer is good. */
#include "own.h"

#include <popferry/clock.h>
#include <popferry/fault.h>
#include <popferry/log.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <limits.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NONCE = 8, CLOCKS_DIFFER = 3600, IMPRINT_MAX = EVP_MAX_MD_SIZE };

/* ---- asking ---- */

static bool set_imprint(TS_REQ *q, const char *data, size_t n)
{
	TS_MSG_IMPRINT *m = TS_MSG_IMPRINT_new();
	X509_ALGOR *alg = X509_ALGOR_new();
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned k = 0;
	bool ok = m && alg &&
		X509_ALGOR_set0(alg, OBJ_nid2obj(NID_sha256), V_ASN1_NULL, NULL) &&
		TS_MSG_IMPRINT_set_algo(m, alg) &&
		EVP_Digest(data, n, md, &k, EVP_sha256(), NULL) &&
		TS_MSG_IMPRINT_set_msg(m, md, (int)k) && TS_REQ_set_msg_imprint(q, m);

	X509_ALGOR_free(alg);
	TS_MSG_IMPRINT_free(m);
	return ok;
}

static bool set_nonce(TS_REQ *q)
{
	unsigned char raw[NONCE];
	ASN1_INTEGER *i = NULL;
	BIGNUM *bn = NULL;
	bool ok = RAND_bytes(raw, sizeof(raw)) == 1;

	raw[0] |= 0x40; /* always as long */
	bn = ok ? BN_bin2bn(raw, sizeof(raw), NULL) : NULL;
	i = bn ? BN_to_ASN1_INTEGER(bn, NULL) : NULL;
	ok = i && TS_REQ_set_nonce(q, i);
	ASN1_INTEGER_free(i);
	BN_free(bn);
	return ok;
}

static enum status ask(TS_REQ **out, const struct tsa_config *cfg, const char *data,
	size_t n, struct err *err)
{
	TS_REQ *q = TS_REQ_new();
	ASN1_OBJECT *policy = NULL;
	enum status rc = ST_OK;

	if (cfg->policy) {
		policy = OBJ_txt2obj(cfg->policy, 1);
		if (!policy) {
			ERR_clear_error();
			rc = err_set(err, ST_DENIED, EX_USAGE,
				"\"%s\" is no timestamp policy: expected an OID as in 1.2.3.4",
				cfg->policy);
		}
	}
	if (rc == ST_OK &&
		(!q || !TS_REQ_set_version(q, 1) || !set_imprint(q, data, n) ||
			!set_nonce(q) || !TS_REQ_set_cert_req(q, 1) ||
			(policy && !TS_REQ_set_policy_id(q, policy))))
		rc = err_set(err, ST_FATAL, EX_SOFTWARE,
			"a timestamp cannot be asked for: %s", ssl_reason());
	ASN1_OBJECT_free(policy);
	if (rc == ST_OK) {
		*out = q;
		q = NULL;
	}
	TS_REQ_free(q);
	return rc;
}

/* ---- judging ---- */

/* An answer, taken apart; everything belongs to resp but signers. */
struct parts {
	TS_RESP *resp;
	PKCS7 *token;
	TS_TST_INFO *info;
	STACK_OF(X509) * signers;
};

static void parts_free(struct parts *p)
{
	sk_X509_free(p->signers);
	TS_RESP_free(p->resp);
}

static bool is_over(TS_TST_INFO *info, const char *data, size_t n)
{
	TS_MSG_IMPRINT *m = TS_TST_INFO_get_msg_imprint(info);
	X509_ALGOR *alg = m ? TS_MSG_IMPRINT_get_algo(m) : NULL;
	ASN1_OCTET_STRING *msg = m ? TS_MSG_IMPRINT_get_msg(m) : NULL;
	int nid = alg ? OBJ_obj2nid(alg->algorithm) : NID_undef;
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned k = 0;

	return digest_strong(nid) && msg &&
		EVP_Digest(data, n, md, &k, EVP_get_digestbynid(nid), NULL) == 1 &&
		ASN1_STRING_length(msg) == (int)k &&
		memcmp(ASN1_STRING_get0_data(msg), md, k) == 0;
}

static const char *granted(const struct parts *p, char *why, size_t cap)
{
	TS_STATUS_INFO *si = TS_RESP_get_status_info(p->resp);
	const ASN1_INTEGER *status = TS_STATUS_INFO_get0_status(si);
	const STACK_OF(ASN1_UTF8STRING) *text = TS_STATUS_INFO_get0_text(si);
	long n = status ? ASN1_INTEGER_get(status) : -1;
	char said[200] = "";

	if (n == 0 || n == 1)
		return NULL;
	if (text && sk_ASN1_UTF8STRING_num(text) > 0) {
		const ASN1_UTF8STRING *s = sk_ASN1_UTF8STRING_value(text, 0);

		text_clean(said, sizeof(said), (const char *)ASN1_STRING_get0_data(s),
			(size_t)ASN1_STRING_length(s));
	}
	snprintf(why, cap, "it refuses to give a timestamp (status %ld%s%s)", n,
		*said ? ": " : "", said);
	return why;
}

static bool same_nonce(const TS_REQ *q, const TS_TST_INFO *info)
{
	const ASN1_INTEGER *a = TS_REQ_get_nonce(q), *b = TS_TST_INFO_get_nonce(info);

	return a && b && ASN1_INTEGER_cmp(a, b) == 0;
}

static bool same_policy(const TS_REQ *q, TS_TST_INFO *info)
{
	ASN1_OBJECT *want = TS_REQ_get_policy_id((TS_REQ *)q);

	return !want || OBJ_cmp(want, TS_TST_INFO_get_policy_id(info)) == 0;
}

/* What stands in it. NULL when all is well so far. */
static const char *contents(struct parts *p, int64_t *when, const char *der, size_t n,
	const struct stamp_wanted *want, char *why, size_t cap)
{
	const unsigned char *c = (const unsigned char *)der;
	const char *refused;
	char theirs[24], ours[24];
	int64_t now = clock_utc();

	p->resp = d2i_TS_RESP(NULL, &c, (long)n);
	if (!p->resp || c != (const unsigned char *)der + n)
		return "it is no timestamp of RFC 3161 in DER";
	refused = granted(p, why, cap);
	if (refused)
		return refused;
	p->token = TS_RESP_get_token(p->resp);
	p->info = TS_RESP_get_tst_info(p->resp);
	if (!p->token || !p->info)
		return "it says that it was granted, but holds none";
	if (!is_over(p->info, want->data, want->n)) {
		snprintf(why, cap,
			"it is over something else than %.200s, or that was changed since",
			want->what);
		return why;
	}
	*when = asn1_seconds(TS_TST_INFO_get_time(p->info));
	if (*when == INT64_MIN)
		return "its time cannot be read";
	if (!want->request)
		return NULL;
	if (!same_nonce(want->request, p->info))
		return "it has not the nonce that was asked for: it may be an old one "
		       "played again";
	if (!same_policy(want->request, p->info))
		return "it was given under another policy than was asked for";
	if (*when < now - CLOCKS_DIFFER || *when > now + CLOCKS_DIFFER) {
		snprintf(why, cap,
			"its time is %s, but ours is %s: which clock is wrong?",
			clock_rfc3339(theirs, *when), clock_rfc3339(ours, now));
		return why;
	}
	return NULL;
}

static bool strong(PKCS7 *token)
{
	STACK_OF(PKCS7_SIGNER_INFO) *all = PKCS7_get_signer_info(token);
	const PKCS7_SIGNER_INFO *si = sk_PKCS7_SIGNER_INFO_num(all) == 1
		? sk_PKCS7_SIGNER_INFO_value(all, 0)
		: NULL;

	return si && digest_strong(OBJ_obj2nid(si->digest_alg->algorithm));
}

/* All certificates of the token as if they were trusted: chains are judged apart. */
static X509_STORE *own_store(const struct parts *p, int64_t at)
{
	STACK_OF(X509) *all = p->token->d.sign->cert;
	X509_STORE *s = X509_STORE_new();
	int i;

	if (!s)
		xmemory_gone();
	for (i = 0; i < sk_X509_num(all); i++)
		X509_STORE_add_cert(s, sk_X509_value(all, i));
	X509_STORE_set_flags(s, X509_V_FLAG_PARTIAL_CHAIN);
	X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(s), (time_t)at);
	return s;
}

/* Was this signed with the key of that certificate? All of it once more, by OpenSSL. */
static bool verified(const struct parts *p, const struct stamp_wanted *want, int64_t at)
{
	X509_STORE *store = own_store(p, at);
	TS_VERIFY_CTX *ctx = want->request
		? TS_REQ_to_TS_VERIFY_CTX((TS_REQ *)want->request, NULL)
		: TS_VERIFY_CTX_new();
	bool ok;

	if (!ctx)
		xmemory_gone();
	TS_VERIFY_CTX_add_flags(ctx, TS_VFY_VERSION | TS_VFY_SIGNATURE);
#if OPENSSL_VERSION_PREREQ(3, 4)
	TS_VERIFY_CTX_set0_store(ctx, store);
#else
	TS_VERIFY_CTX_set_store(ctx, store);
#endif
	ok = TS_RESP_verify_response(ctx, p->resp) == 1;
	TS_VERIFY_CTX_free(ctx);
	return ok;
}

/* Who has given it, and whether we believe him. */
static enum sign_verdict giver(struct sign_mark *m, struct parts *p, int64_t at,
	const struct stamp_wanted *want, X509_STORE *store, STACK_OF(X509) * *chain)
{
	enum sign_verdict verdict;
	X509 *x;

	p->signers = PKCS7_get0_signers(p->token, NULL, 0);
	if (!strong(p->token) || sk_X509_num(p->signers) != 1) {
		snprintf(m->why, sizeof(m->why),
			"it lacks the certificate of the TSA, or its signature is too weak");
		return SIGN_BAD;
	}
	x = sk_X509_value(p->signers, 0);
	cert_name(m->by, sizeof(m->by), x);
	cert_sha256(m->sha256, x);
	if (X509_check_purpose(x, X509_PURPOSE_TIMESTAMP_SIGN, 0) != 1) {
		snprintf(m->why, sizeof(m->why),
			"the certificate of \"%.200s\" is not meant for timestamps",
			m->by);
		return SIGN_BAD;
	}
	verdict = cert_chain(store, x, p->token->d.sign->cert,
		X509_PURPOSE_TIMESTAMP_SIGN, at, chain, m->why);
	if (verdict == SIGN_BAD || verified(p, want, at))
		return verdict;
	snprintf(m->why, sizeof(m->why),
		"it was changed, or made with another key than that of the certificate in "
		"it: %s",
		ssl_reason());
	return SIGN_BAD;
}

void stamp_check(struct sign_mark *m, int64_t *when, const char *der, size_t der_n,
	const struct stamp_wanted *want, X509_STORE *store, STACK_OF(X509) * *chain)
{
	struct parts p = { NULL, NULL, NULL, NULL };
	char text[ERR_TEXT];
	const char *fault = contents(&p, when, der, der_n, want, text, sizeof(text));

	m->verdict = SIGN_BAD;
	if (fault)
		snprintf(m->why, sizeof(m->why), "%s", fault);
	else
		m->verdict = giver(m, &p, *when, want, store, chain);
	if (m->verdict == SIGN_BAD)
		*when = 0;
	parts_free(&p);
	ERR_clear_error();
}

bool stamp_is_over(const char *der, size_t der_n, const char *data, size_t n)
{
	const unsigned char *c = (const unsigned char *)der;
	TS_RESP *resp = d2i_TS_RESP(NULL, &c, (long)der_n);
	TS_TST_INFO *info = resp ? TS_RESP_get_tst_info(resp) : NULL;
	bool is = info && is_over(info, data, n);

	TS_RESP_free(resp);
	ERR_clear_error();
	return is;
}

/* ---- getting one ---- */

struct asked {
	const struct tsa_config *cfg;
	const struct stamp_wanted *want;
	X509_STORE *store;
	const char *query;
	size_t query_n;
	STACK_OF(X509) * chain; /* of the answer that is good */
};

static enum status one_tsa(
	struct asked *a, const char *url, struct buf *out, struct err *err)
{
	struct sign_mark m;
	int64_t when = 0;
	enum status rc;

	buf_clear(out);
	rc = http_ask(out, url, a->cfg, a->query, a->query_n, err);
	if (rc != ST_OK)
		return rc;
	memset(&m, 0, sizeof(m));
	stamp_check(
		&m, &when, out->p ? out->p : "", out->n, a->want, a->store, &a->chain);
	if (m.verdict == SIGN_TRUSTED)
		return ST_OK;
	if (m.verdict == SIGN_UNKNOWN)
		return err_set(err, ST_DENIED, EX_NOPERM,
			"the timestamp of %.150s is not taken: %s; if it is known to be "
			"theirs, name its CA with --tsa-ca",
			url, m.why);
	return err_set(err, ST_DENIED, EX_PROTOCOL,
		"the timestamp of %.150s is not taken: %s", url, m.why);
}

static enum status any_tsa(struct asked *a, struct buf *out, struct err *err)
{
	struct err last = ERR_INIT, later = ERR_INIT;
	enum status rc = ST_DENIED;
	size_t i;

	for (i = 0; i < a->cfg->n; i++) {
		rc = one_tsa(a, a->cfg->urls[i], out, &last);
		if (rc == ST_OK || rc == ST_FATAL)
			break;
		if (a->cfg->n > 1)
			log_warn(a->cfg->log, "no-timestamp",
				LOG_S("tsa", a->cfg->urls[i]),
				LOG_S("reason", last.text));
		if (rc == ST_RETRY)
			later = last;
	}
	if (rc != ST_OK && rc != ST_FATAL && later.status == ST_RETRY)
		last = later;
	if (rc != ST_OK && err)
		*err = last;
	return rc == ST_OK ? ST_OK : last.status;
}

static enum status get(const struct tsa_config *cfg, struct stamp_wanted *want,
	const struct stamp_keep *keep, struct buf *out, struct err *err)
{
	struct asked a = { cfg, want, NULL, NULL, 0, NULL };
	unsigned char *der = NULL;
	TS_REQ *q = NULL;
	enum status rc = ask(&q, cfg, want->data, want->n, err);
	int n;

	if (rc == ST_OK)
		rc = store_open(&a.store, cfg->trust, err);
	if (rc != ST_OK)
		goto out;
	n = i2d_TS_REQ(q, &der);
	if (n <= 0)
		xmemory_gone();
	want->request = q;
	a.query = (const char *)der;
	a.query_n = (size_t)n;
	rc = any_tsa(&a, out, err);
	if (rc == ST_OK && keep)
		rc = keep->chain(keep->ctx, a.chain, err);
out:
	want->request = NULL;
	sk_X509_pop_free(a.chain, X509_free);
	X509_STORE_free(a.store);
	OPENSSL_free(der);
	TS_REQ_free(q);
	return rc;
}

enum status stamp_file_keep(const struct tsa_config *cfg, int dirfd, const char *name,
	const struct stamp_keep *keep, struct err *err)
{
	char *target = mark_name(name, ".tsr"), *p7s = mark_name(name, ".p7s");
	struct stamp_wanted want = { NULL, NULL, 0, NULL };
	struct buf answer = BUF_INIT(ANSWER_MAX);
	enum status rc = ST_END;
	char *data = NULL;

	if (mark_there(dirfd, target))
		goto out;
	want.what = mark_there(dirfd, p7s) ? p7s : name;
	rc = mark_get(&data, &want.n, dirfd, want.what, FILE_MAX, err);
	want.data = data;
	if (rc == ST_OK)
		rc = get(cfg, &want, keep, &answer, err);
	if (rc == ST_OK)
		rc = mark_put(dirfd, target, answer.p, answer.n, err);
	if (rc == ST_OK)
		fault_step("stamped");
out:
	buf_free(&answer);
	free(data);
	free(target);
	free(p7s);
	return rc;
}

enum status stamp_file(
	const struct tsa_config *cfg, int dirfd, const char *name, struct err *err)
{
	return stamp_file_keep(cfg, dirfd, name, NULL, err);
}
