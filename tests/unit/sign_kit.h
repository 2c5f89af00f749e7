/*
 * sign_kit.h: keys, certificates of all ages, and a timestamp authority that gives good
 * and bad answers, for the tests of src/sign.
 */
#ifndef SIGN_KIT_H
#define SIGN_KIT_H

#include "../../src/sign/own.h"
#include "loop.h"

#include <popferry/clock.h>
#include <popferry/fs.h>
#include <popferry/mem.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ts.h>
#include <openssl/x509v3.h>

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { DAY = 24 * 3600 };

static void must(bool ok)
{
	if (!ok) {
		ERR_print_errors_fp(stderr);
		abort();
	}
}

/* ---- certificates ---- */

struct ident {
	EVP_PKEY *key;
	X509 *cert;
};

static void add_ext(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	must(e && X509_add_ext(x, e, -1));
	X509_EXTENSION_free(e);
}

/* Valid from so many days from now to so many; eku NULL: a CA. */
static void make_ident(struct ident *id, const char *cn, const struct ident *by,
	int from, int to, const char *usage, const char *eku)
{
	static long serial;
	X509 *x = X509_new();
	X509_NAME *name;

	if (!id->key)
		id->key = EVP_EC_gen("P-256");
	must(id->key && x);
	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(x), (long)from * DAY);
	X509_gmtime_adj(X509_getm_notAfter(x), (long)to * DAY);
	name = X509_get_subject_name(x);
	must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
		     (const unsigned char *)cn, -1, -1, 0) == 1);
	X509_set_issuer_name(x, by ? X509_get_subject_name(by->cert) : name);
	X509_set_pubkey(x, id->key);
	if (usage)
		add_ext(x, NID_key_usage, usage);
	if (eku && *eku)
		add_ext(x, NID_ext_key_usage, eku);
	if (!eku)
		add_ext(x, NID_basic_constraints, "critical,CA:TRUE");
	must(X509_sign(x, by ? by->key : id->key, EVP_sha256()) > 0);
	id->cert = x;
}

static void drop_ident(struct ident *id)
{
	EVP_PKEY_free(id->key);
	X509_free(id->cert);
	memset(id, 0, sizeof(*id));
}

/* The same key, issuer and serial number, but not for timestamps. */
static X509 *twin_without_purpose(const struct ident *id, const struct ident *by)
{
	X509 *x = X509_dup(id->cert);
	int at = X509_get_ext_by_NID(x, NID_ext_key_usage, -1);

	must(at >= 0);
	X509_EXTENSION_free(X509_delete_ext(x, at));
	must(X509_sign(x, by->key, EVP_sha256()) > 0);
	return x;
}

/* ---- a folder ---- */

static char dir[64];
static int dirfd_;

static char *in_dir(const char *name)
{
	return xasprintf("%s/%s", dir, name);
}

static void make_dir(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%.40s/t_sign.XXXXXX", tmp ? tmp : "/tmp");
	must(mkdtemp(dir) != NULL);
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(dirfd_ >= 0);
}

static void drop_dir(void)
{
	char *command[] = { (char *)"rm", (char *)"-rf", dir, NULL };
	pid_t pid = fork();

	if (pid == 0) {
		execvp(command[0], command);
		_exit(127);
	}
	close(dirfd_);
	while (waitpid(pid, NULL, 0) < 0)
		;
}

static void put(const char *name, const void *p, size_t n)
{
	int fd;

	unlinkat(dirfd_, name, 0);
	fd = openat(dirfd_, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	must(fd >= 0 && fs_write(fd, p, n, NULL) == ST_OK && close(fd) == 0);
}

static void put_certs(const char *name, const struct ident *const *v, size_t n)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *p;
	size_t i;
	long k;

	for (i = 0; i < n; i++)
		must(PEM_write_bio_X509(b, v[i]->cert) == 1);
	k = BIO_get_mem_data(b, &p);
	put(name, p, (size_t)k);
	BIO_free(b);
}

static void put_cert(const char *name, const struct ident *id)
{
	put_certs(name, &id, 1);
}

/* ---- a timestamp authority ---- */

enum answer {
	GOOD,
	OTHER_NONCE,
	NO_NONCE,
	OTHER_IMPRINT,
	OTHER_POLICY,
	REFUSES,
	NOT_FOR_STAMPS, /* its certificate is for other things */
	FLIPPED,        /* one bit of the signature is wrong */
	NO_CERTS,
	CUT,
	TRAILING, /* a byte more */
	RUBBISH,
	EMPTY,
};

static const char policy[] = "1.2.3.4.1";

struct authority {
	const struct ident *id, *by;
	enum answer answer;
	int64_t time; /* 0: now */
};

static ASN1_INTEGER *next_serial(TS_RESP_CTX *ctx, void *data)
{
	static long serial = 1000;
	ASN1_INTEGER *i = ASN1_INTEGER_new();

	(void)ctx;
	(void)data;
	ASN1_INTEGER_set(i, ++serial);
	return i;
}

static int tell_time(TS_RESP_CTX *ctx, void *data, long *sec, long *usec)
{
	const struct authority *a = data;

	(void)ctx;
	*sec = (long)(a->time ? a->time : clock_utc());
	*usec = 0;
	return 1;
}

/* The request as this authority takes it. */
static TS_REQ *understand(const TS_REQ *asked, enum answer answer)
{
	TS_MSG_IMPRINT *m = TS_REQ_get_msg_imprint((TS_REQ *)asked);
	const ASN1_INTEGER *nonce = TS_REQ_get_nonce(asked);
	ASN1_INTEGER *other = ASN1_INTEGER_new();
	TS_REQ *q = TS_REQ_new();
	unsigned char md[32];

	memcpy(md, ASN1_STRING_get0_data(TS_MSG_IMPRINT_get_msg(m)), 32);
	md[31] ^= answer == OTHER_IMPRINT;
	must(ASN1_STRING_set(TS_MSG_IMPRINT_get_msg(m), md, 32) == 1);
	ASN1_INTEGER_set(other, 4711);
	must(q && TS_REQ_set_version(q, 1) && TS_REQ_set_msg_imprint(q, m) &&
		TS_REQ_set_cert_req(q, answer != NO_CERTS));
	if (nonce && answer != NO_NONCE)
		must(TS_REQ_set_nonce(q, answer == OTHER_NONCE ? other : nonce) == 1);
	ASN1_INTEGER_free(other);
	return q;
}

static TS_RESP *respond(const struct authority *a, const void *query, size_t n)
{
	const unsigned char *c = query;
	TS_REQ *asked = d2i_TS_REQ(NULL, &c, (long)n), *q;
	TS_RESP_CTX *ctx = TS_RESP_CTX_new();
	ASN1_OBJECT *oid = OBJ_txt2obj(
		a->answer == OTHER_POLICY ? "1.2.3.4.2" : policy, 1);
	BIO *in = BIO_new(BIO_s_mem());
	TS_RESP *r;

	must(asked && ctx && oid && in);
	q = understand(asked, a->answer);
	must(i2d_TS_REQ_bio(in, q) == 1);
	TS_RESP_CTX_set_serial_cb(ctx, next_serial, NULL);
	TS_RESP_CTX_set_time_cb(ctx, tell_time, (void *)a);
	must(TS_RESP_CTX_set_signer_cert(ctx, a->id->cert) == 1);
	must(TS_RESP_CTX_set_signer_key(ctx, a->id->key) == 1);
	must(TS_RESP_CTX_set_signer_digest(ctx, EVP_sha256()) == 1);
	must(TS_RESP_CTX_set_def_policy(ctx, oid) == 1);
	must(TS_RESP_CTX_add_md(
		ctx, a->answer == REFUSES ? EVP_sha512() : EVP_sha256()));
	r = TS_RESP_create_response(ctx, in);
	must(r != NULL);
	BIO_free(in);
	ASN1_OBJECT_free(oid);
	TS_RESP_CTX_free(ctx);
	TS_REQ_free(asked);
	TS_REQ_free(q);
	return r;
}

static void spoil_certs(const struct authority *a, TS_RESP *r)
{
	STACK_OF(X509) *certs = TS_RESP_get_token(r)->d.sign->cert;

	X509_free(sk_X509_pop(certs));
	must(sk_X509_push(certs, twin_without_purpose(a->id, a->by)));
}

/* The answer's bytes, owned by the caller. */
static char *stamp_bytes(
	const struct authority *a, const void *query, size_t query_n, size_t *n)
{
	unsigned char *der = NULL;
	TS_RESP *r;
	char *out;
	int k;

	*n = 0;
	if (a->answer == EMPTY)
		return xstrdup("");
	if (a->answer == RUBBISH) {
		*n = 5;
		return xmemdup0("0\3abc", 5);
	}
	r = respond(a, query, query_n);
	if (a->answer == NOT_FOR_STAMPS)
		spoil_certs(a, r);
	k = i2d_TS_RESP(r, &der);
	must(k > 10);
	TS_RESP_free(r);
	*n = (size_t)k - (a->answer == CUT ? 10 : 0) + (a->answer == TRAILING);
	out = xcalloc(1, (size_t)k + 2);
	memcpy(out, der, (size_t)k);
	if (a->answer == FLIPPED)
		out[k - 1] ^= 1;
	OPENSSL_free(der);
	return out;
}

/* A query for these bytes, as popferry would ask. */
static char *query_for(const char *data, size_t n, size_t *query_n)
{
	unsigned char md[32], *der = NULL;
	TS_REQ *q = TS_REQ_new();
	TS_MSG_IMPRINT *m = TS_MSG_IMPRINT_new();
	X509_ALGOR *alg = X509_ALGOR_new();
	char *out;
	int k;

	X509_ALGOR_set0(alg, OBJ_nid2obj(NID_sha256), V_ASN1_NULL, NULL);
	must(EVP_Digest(data, n, md, NULL, EVP_sha256(), NULL) == 1);
	TS_REQ_set_version(q, 1);
	TS_MSG_IMPRINT_set_algo(m, alg);
	TS_MSG_IMPRINT_set_msg(m, md, 32);
	TS_REQ_set_msg_imprint(q, m);
	TS_REQ_set_cert_req(q, 1);
	k = i2d_TS_REQ(q, &der);
	must(k > 0);
	*query_n = (size_t)k;
	out = xmemdup0(der, (size_t)k);
	OPENSSL_free(der);
	X509_ALGOR_free(alg);
	TS_MSG_IMPRINT_free(m);
	TS_REQ_free(q);
	return out;
}

/* NAME.tsr over this file, by an authority, at any time. */
__attribute__((unused)) static void stamp_by(
	const struct authority *a, const char *over, const char *target)
{
	size_t n, query_n, k;
	char *data, *query, *der;

	must(fs_read(&data, &n, dirfd_, over, FILE_MAX, NULL) == ST_OK);
	query = query_for(data, n, &query_n);
	der = stamp_bytes(a, query, query_n, &k);
	put(target, der, k);
	free(der);
	free(query);
	free(data);
}

static void has_text(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" does not say \"%s\"", text, part);
}

#endif
