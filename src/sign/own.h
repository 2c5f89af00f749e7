/* own.h: what the files of this folder share. */
#ifndef SIGN_OWN_H
#define SIGN_OWN_H

#include <popferry/buf.h>
#include <popferry/sign.h>

#include <openssl/evp.h>
#include <openssl/ts.h>
#include <openssl/x509.h>

enum {
	FILE_MAX = 64 * 1024 * 1024, /* bytes of what is signed: seals are small */
	PEM_MAX = 4 * 1024 * 1024,   /* bytes of a file of keys or certificates */
	MARK_MAX = 1024 * 1024,      /* bytes of a signature or timestamp */
	ANSWER_MAX = 256 * 1024,     /* bytes of a TSA's answer */
	PASSWORD_MAX = 4096,
};

struct signer {
	EVP_PKEY *key;
	X509 *cert;
	STACK_OF(X509) * chain; /* the others of its file */
};

/* ---- files (file.c) ---- */

/* NAME with this end, and without ".json", owned by the caller: ".p7s", ".tsr". */
char *mark_name(const char *name, const char *end);
bool mark_there(int dirfd, const char *name);
/* Whole, durable, mode 0444. */
enum status mark_put(
	int dirfd, const char *name, const void *p, size_t n, struct err *err);
/* fs_read(), but a file that is missing is an error: EX_NOINPUT. */
enum status mark_get(char **out, size_t *n, int dirfd, const char *name, size_t max,
	struct err *err);
/* The certificates of a PEM file, at least one. what is for messages: "--cert". */
enum status cert_read(
	STACK_OF(X509) * *out, const char *what, const char *path, struct err *err);

/* ---- certificates (cert.c) ---- */

void cert_name(char *out, size_t cap, X509 *x);
void cert_sha256(char out[65], X509 *x);
int64_t asn1_seconds(const ASN1_TIME *t); /* INT64_MIN when it is no time */
/* NULL, or why it cannot sign documents. */
const char *cert_unfit(X509 *x);
/* May this digest stand behind a signature today? */
bool digest_strong(int nid);
/* The newest error of OpenSSL, and none after. */
const char *ssl_reason(void);

/*
 * Does the chain of x end in the store, as of a time? The verdict, and in why what is
 * wrong. *chain (may be NULL) becomes the chain that was found.
 */
enum sign_verdict cert_chain(X509_STORE *store, X509 *x, STACK_OF(X509) * others,
	int purpose, int64_t at, STACK_OF(X509) * *chain, char why[ERR_TEXT]);
/* The store of a PEM file; of NULL: of this system. */
enum status store_open(X509_STORE **out, const char *path, struct err *err);

struct sign_trust {
	X509_STORE *signers, *tsas; /* signers may be NULL */
};

/* ---- signatures (cms.c) ---- */

/* A detached signature over these bytes, as of a time, into m. */
void cms_check(struct sign_mark *m, const char *der, size_t der_n, const char *name,
	const char *data, size_t n, const struct sign_trust *t, int64_t at);

/* ---- timestamps (stamp.c) ---- */

struct stamp_wanted {
	const char *what; /* the file, for messages */
	const char *data; /* what it is over */
	size_t n;
	const TS_REQ
		*request; /* NULL: it is old, and neither nonce nor policy are known */
};
/* Judges an answer; *when is its time. *chain as with cert_chain(). */
void stamp_check(struct sign_mark *m, int64_t *when, const char *der, size_t der_n,
	const struct stamp_wanted *want, X509_STORE *store, STACK_OF(X509) * *chain);
/* Is it over these bytes? False also when it cannot be read. */
bool stamp_is_over(const char *der, size_t der_n, const char *data, size_t n);

/* Gets the chain of the TSA's certificate, before the timestamp is there. */
struct stamp_keep {
	enum status (*chain)(void *ctx, STACK_OF(X509) * chain, struct err *err);
	void *ctx;
};
/* As stamp_file(); keep may be NULL. */
enum status stamp_file_keep(const struct tsa_config *cfg, int dirfd, const char *name,
	const struct stamp_keep *keep, struct err *err);

/* ---- HTTP (http.c) ---- */

struct http_url {
	bool tls;
	char *host, *path; /* owned */
	unsigned port;
};
/* ST_DENIED, EX_USAGE unless it is a plain http: or https: URL. */
enum status http_url(struct http_url *out, const char *url, struct err *err);
void http_url_release(struct http_url *u);

/* What has come of an answer so far. */
enum http_step { HTTP_MORE, HTTP_WHOLE, HTTP_BAD };
struct http_reply {
	unsigned status;
	char type[64];      /* Content-Type without parameters */
	char reason[128];   /* of the status line, cleaned */
	char location[256]; /* cleaned */
	struct buf body;    /* released by the caller */
	const char *fault;  /* with HTTP_BAD */
};
/* Reads an answer of n bytes from its begin; at_end: no more will come. */
enum http_step http_parse(struct http_reply *r, const char *p, size_t n, bool at_end);

/* Posts a query to the TSA; the answer's body into *out. */
enum status http_ask(struct buf *out, const char *url, const struct tsa_config *cfg,
	const void *query, size_t n, struct err *err);

/* ---- tokens (pkcs11.c) ---- */

/* The key of a pkcs11: URI, by a provider or the engine. NULL and the reason. */
EVP_PKEY *pkcs11_key(
	const char *uri, pem_password_cb *ask, void *ctx, const char **why);

#endif
