/* cert.c: is this the server we meant? And if not, what to tell people. */
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "conn.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { NAMES_SHOWN = 6, NAMES_MAX = 400 };

static const char pin_prefix[] = "sha256//";

/* "sha256//BASE64" of the certificate's public key; "" when it has none. */
static void pin_of(char out[64], X509 *x)
{
	unsigned char md[EVP_MAX_MD_SIZE], *der = NULL;
	struct buf b = BUF_INIT(63);
	int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
	unsigned k = 0;

	out[0] = '\0';
	if (n > 0 && EVP_Digest(der, (size_t)n, md, &k, EVP_sha256(), NULL) == 1 &&
		buf_adds(&b, pin_prefix) && text_base64(&b, md, k))
		memcpy(out, b.p, b.n + 1);
	OPENSSL_free(der);
	buf_free(&b);
}

static void name_of(char *out, size_t cap, const X509_NAME *name)
{
	BIO *mem = BIO_new(BIO_s_mem());
	char *p = NULL;
	long n = 0;

	if (mem &&
		X509_NAME_print_ex(
			mem, name, 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB) >= 0)
		n = BIO_get_mem_data(mem, &p);
	text_clean(out, cap, p ? p : "", n > 0 ? (size_t)n : 0);
	BIO_free(mem);
}

static void time_of(char out[24], const ASN1_TIME *t)
{
	struct tm tm;

	out[0] = '\0';
	if (ASN1_TIME_to_tm(t, &tm) == 1)
		clock_rfc3339(out, (int64_t)timegm(&tm));
}

static void describe(struct tls_info *info, X509 *leaf)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	char when[24];
	unsigned n = 0;

	name_of(info->subject, sizeof(info->subject), X509_get_subject_name(leaf));
	name_of(info->issuer, sizeof(info->issuer), X509_get_issuer_name(leaf));
	time_of(when, X509_get0_notAfter(leaf));
	memcpy(info->not_after, when, sizeof(when));
	pin_of(info->pin, leaf);
	if (X509_digest(leaf, EVP_sha256(), md, &n) == 1 && n == 32)
		text_hex(info->sha256, md, n);
}

static bool add_name(struct buf *b, const GENERAL_NAME *g)
{
	const ASN1_STRING *s = g->d.ia5;
	char ip[INET6_ADDRSTRLEN];
	const unsigned char *p;

	if (g->type != GEN_DNS && g->type != GEN_IPADD)
		return false;
	if (b->n)
		buf_adds(b, ", ");
	p = ASN1_STRING_get0_data(s);
	if (g->type == GEN_DNS)
		text_clean_add(b, (const char *)p, (size_t)ASN1_STRING_length(s));
	else if (inet_ntop(ASN1_STRING_length(s) == 4 ? AF_INET : AF_INET6, p, ip,
			 sizeof(ip)))
		buf_adds(b, ip);
	return true;
}

/* The names a certificate is for, cleaned. */
static void names_of(struct buf *b, X509 *x)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	int i, shown = 0, n = sk_GENERAL_NAME_num(all);

	for (i = 0; i < n && shown < NAMES_SHOWN; i++)
		shown += add_name(b, sk_GENERAL_NAME_value(all, i));
	if (i < n)
		buf_addf(b, " and %d more", n - i);
	if (!shown)
		buf_adds(b, "no names at all");
	GENERAL_NAMES_free(all);
}

static void deny(struct conn *c, const char *text)
{
	conn_fail(c, ST_DENIED, EX_NOPERM, "has a certificate %s", text);
}

static void deny_name(struct conn *c, X509 *leaf)
{
	struct buf names = BUF_INIT(NAMES_MAX);

	names_of(&names, leaf);
	conn_fail(c, ST_DENIED, EX_NOPERM,
		"has a certificate for %.200s, not for %.80s; use a name it has, or --%s-pin "
		"%s if you know that key",
		buf_str(&names), c->cfg.host, c->cfg.name, c->info.pin);
	buf_free(&names);
}

static void deny_issuer(struct conn *c)
{
	conn_fail(c, ST_DENIED, EX_NOPERM,
		"has a certificate of %.120s by \"%.120s\", which is not trusted here; if "
		"that is right, name its CA with --ca-file, or use --%s-pin %s",
		c->info.subject, c->info.issuer, c->cfg.name, c->info.pin);
}

static void deny_time(struct conn *c, X509 *leaf, int why)
{
	char when[24], text[128];
	bool old = why == X509_V_ERR_CERT_HAS_EXPIRED;

	time_of(when, old ? X509_get0_notAfter(leaf) : X509_get0_notBefore(leaf));
	snprintf(text, sizeof(text), "that %s %s; %s",
		old ? "expired at" : "is not valid before", when,
		old ? "its administrator must renew it" : "is our clock right?");
	deny(c, text);
}

static void deny_for(struct conn *c, X509 *leaf, X509 *cause, int why)
{
	char text[256], way[80];

	switch (why) {
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		deny_name(c, leaf);
		break;
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		deny_time(c, cause ? cause : leaf, why);
		break;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		snprintf(text, sizeof(text),
			"that is self-signed; if you know it is theirs, use --%s-pin %s",
			c->cfg.name, c->info.pin);
		deny(c, text);
		break;
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		deny_issuer(c);
		break;
	case X509_V_ERR_EE_KEY_TOO_SMALL:
	case X509_V_ERR_CA_KEY_TOO_SMALL:
	case X509_V_ERR_CA_MD_TOO_WEAK:
		snprintf(text, sizeof(text),
			"with a key too short, or a digest too weak, to be safe; its "
			"administrator must change that%s",
			tls_way(c, way, sizeof(way)));
		deny(c, text);
		break;
	default:
		snprintf(text, sizeof(text), "that cannot be accepted: %s",
			X509_verify_cert_error_string(why));
		deny(c, text);
		break;
	}
}

static bool pin_in(const STACK_OF(X509) * chain, const char *pin)
{
	char have[64];
	int i;

	for (i = 0; i < sk_X509_num(chain); i++) {
		pin_of(have, sk_X509_value(chain, i));
		if (strcmp(have, pin) == 0)
			return true;
	}
	return false;
}

/*
 * A pin of the leaf's own key stands for itself. A pin of another certificate counts
 * only in a chain that was verified: anybody may present a copied CA certificate.
 */
bool cert_accept(struct conn *c, X509_STORE_CTX *ctx)
{
	X509 *leaf = X509_STORE_CTX_get0_cert(ctx);
	bool trusted = X509_verify_cert(ctx) == 1;
	int why = X509_STORE_CTX_get_error(ctx);

	if (!leaf) {
		deny(c, "that cannot be read");
		return false;
	}
	describe(&c->info, leaf);
	if (c->cfg.pin && strcmp(c->cfg.pin, c->info.pin) == 0) {
		X509_STORE_CTX_set_error(ctx, X509_V_OK);
		return true;
	}
	if (!trusted && !c->cfg.pin) {
		deny_for(c, leaf, X509_STORE_CTX_get_current_cert(ctx), why);
		return false;
	}
	if (trusted &&
		(!c->cfg.pin || pin_in(X509_STORE_CTX_get0_chain(ctx), c->cfg.pin)))
		return true;
	X509_STORE_CTX_set_error(ctx, X509_V_ERR_CERT_REJECTED);
	conn_fail(c, ST_DENIED, EX_NOPERM,
		"has a certificate with the pin %s, not %.64s; if the key was changed on "
		"purpose, change --%s-pin",
		c->info.pin, c->cfg.pin, c->cfg.name);
	return false;
}
