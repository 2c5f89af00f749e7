/*
 * sign.h: signatures and timestamps that anybody can check with openssl alone.
 *
 * A file X gets X.p7s, a detached CMS signature in DER (CAdES-BES: the certificate is
 * part of what is signed), and X.tsr, what a timestamp authority (TSA, RFC 3161)
 * answered over X.p7s, or over X itself when that is not signed. (X.json gets the same
 * names as X.) Both are written once, mode 0444, and whole or not at all. A timestamp
 * proves that the signature was there when the certificates were still good, and so
 * both are checked as of its time: that they have expired since does not matter.
 *
 * Errors: ST_RETRY (EX_TEMPFAIL, EX_UNAVAILABLE: no TSA can be had now), ST_DENIED
 * (EX_CONFIG: keys, certificates; EX_PROTOCOL: no TSA gives an answer that is good;
 * EX_NOPERM: none one may trust; EX_NOINPUT: nothing there), ST_FATAL (EX_IOERR ...).
 *
 * Threads: everything here belongs to one thread.
 */
#ifndef POPFERRY_SIGN_H
#define POPFERRY_SIGN_H

#include <popferry/err.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log;

/* ---- keys ---- */

enum sign_key { SIGN_EC, SIGN_RSA }; /* P-256; 3072 bits */

struct keygen {
	const char *key, *cert; /* files to be made; neither may be there */
	enum sign_key kind;
	const char *name;     /* for people: whose key it is */
	unsigned days;        /* how long the certificate is valid */
	const char *password; /* NULL: the key is not encrypted */
};
/* A key (mode 0600) and a certificate signed by itself; sha256 is its fingerprint. */
enum status sign_keygen(const struct keygen *k, char sha256[65], struct err *err);

struct signer_config {
	/* A PEM file that only its owner can read, or a pkcs11: URI. */
	const char *key;
	/* A PEM file: the signer's certificate first, then those up to its CA. */
	const char *cert;
	/* The passphrase of the key or PIN of the token, when there is one: the result
	 * is wiped and freed. */
	enum status (*password)(void *ctx, char **out, struct err *err);
	void *ctx;
};

struct signer;
/* Asks that key and certificate belong together, and may sign today. */
enum status signer_open(
	struct signer **out, const struct signer_config *cfg, struct err *err);
void signer_close(struct signer **s);

/* Writes NAME.p7s. ST_END, and nothing done, when it is there already. */
enum status sign_file(
	const struct signer *s, int dirfd, const char *name, struct err *err);

/* ---- timestamps ---- */

struct tsa_config {
	const char *const *urls; /* http: or https:, asked in this order */
	size_t n;
	const char *trust;   /* PEM: whom to believe; NULL: the CAs of this system */
	const char *policy;  /* OID the timestamp must be given under; NULL: any */
	const char *ca_file; /* for https: PEM; NULL: the CAs of this system */
	const char *pin;     /* for https: as in net.h */
	int deadline_ms;     /* for one answer; 0: 30 000 */
	const struct log *log;
};

/*
 * Writes NAME.tsr, over NAME.p7s when that is there. ST_END when it is there already.
 * An answer that is not good in every respect is as none: the next TSA is asked. The
 * error is that of the last one; when some may answer later, ST_RETRY.
 */
enum status stamp_file(
	const struct tsa_config *cfg, int dirfd, const char *name, struct err *err);

/* ---- checking ---- */

/* Whom to believe. Both are PEM files of certificates. */
struct sign_trust;
enum status sign_trust_open(struct sign_trust **out,
	const char *signers, /* signers or their CAs; NULL: nobody is believed */
	const char *tsas,    /* NULL: the CAs of this system */
	struct err *err);
void sign_trust_close(struct sign_trust **t);

enum sign_verdict {
	SIGN_NONE,    /* there is none */
	SIGN_TRUSTED, /* right, and by somebody believed */
	SIGN_UNKNOWN, /* right, but by somebody not known here; why says what to do */
	SIGN_BAD,     /* wrong; why says in which way */
};
struct sign_mark {
	enum sign_verdict verdict;
	char by[256];    /* the certificate's subject, cleaned; "" when not known */
	char sha256[65]; /* and fingerprint */
	char why[ERR_TEXT];
};
struct sign_state {
	struct sign_mark signature, stamp;
	int64_t time; /* the timestamp says, UTC seconds; 0: there is none, or a bad one */
	bool over_file; /* the timestamp is over the file itself, not its signature */
};

/* ST_OK whatever the verdict: other errors are only that it could not be looked at. */
enum status sign_check(struct sign_state *out, const struct sign_trust *t, int dirfd,
	const char *name, struct err *err);

/* ---- the seals of an archive: seals/ *.json ---- */

struct sign_done {
	uint64_t seals;
	uint64_t signatures, stamps; /* made now */
	uint64_t waiting;            /* for a timestamp */
	uint64_t unsigned_before;    /* timestamped without a signature: left so */
};

/*
 * Signs each seal without a signature (signer not NULL) and timestamps each without a
 * timestamp (tsa not NULL). Certificates needed later are kept in trust/. When no TSA
 * answers, the seals wait for a later call: ST_RETRY, when all are signed. ST_DENIED
 * and EX_TEMPFAIL when another process is at it; EX_NOINPUT when path is no archive.
 */
enum status sign_archive(const char *path, const struct signer *s,
	const struct tsa_config *tsa, struct sign_done *done, struct err *err);

/*
 * Tells each() of each seal, by name; what belongs to no seal is told as bad. ST_DENIED
 * and EX_DATAERR when a signature or timestamp is bad.
 */
enum status sign_check_archive(const char *path, const struct sign_trust *t,
	void (*each)(void *ctx, const char *seal, const struct sign_state *s),
	void *ctx, struct err *err);

#endif
