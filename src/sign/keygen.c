/* keygen.c: a key and a certificate of its own, for teams without a CA. */
#include "own.h"

#include <popferry/fs.h>
#include <popferry/mem.h>

#include <errno.h>
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RSA_BITS = 3072, SERIAL_BITS = 127, HOUR = 3600 };

static bool add_ext(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *e;
	X509V3_CTX ctx;
	bool ok;

	X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = e && X509_add_ext(x, e, -1) == 1;
	X509_EXTENSION_free(e);
	return ok;
}

static bool set_serial(X509 *x)
{
	BIGNUM *bn = BN_new();
	bool ok = bn && BN_rand(bn, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) &&
		BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(x));

	BN_free(bn);
	return ok;
}

static bool fill(X509 *x, EVP_PKEY *key, const struct keygen *k)
{
	X509_NAME *name = X509_get_subject_name(x);

	return X509_set_version(x, X509_VERSION_3) && set_serial(x) &&
		/* Clocks differ a little; a TSA's may be behind ours. */
		X509_gmtime_adj(X509_getm_notBefore(x), -HOUR) &&
		X509_time_adj_ex(X509_getm_notAfter(x), (int)k->days, 0, NULL) &&
		X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
			(const unsigned char *)k->name, -1, -1, 0) &&
		X509_set_issuer_name(x, name) && X509_set_pubkey(x, key) &&
		add_ext(x, NID_basic_constraints, "critical,CA:FALSE") &&
		add_ext(x, NID_key_usage, "critical,digitalSignature,nonRepudiation") &&
		add_ext(x, NID_subject_key_identifier, "hash") &&
		X509_sign(x, key, EVP_sha256()) > 0;
}

static enum status make_file(const char *path, mode_t mode, BIO *bio, struct err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	enum status rc;
	char *p = NULL;
	long n = BIO_get_mem_data(bio, &p);

	if (fd < 0 && (errno == EEXIST || errno == ELOOP))
		return err_set(err, ST_DENIED, EX_CANTCREAT,
			"%s: is there already, and stays as it is; name another file",
			path);
	if (fd < 0)
		return err_sys(err, ST_FATAL, "create %s", path);
	rc = fs_write(fd, p, (size_t)n, err);
	/* What the umask has taken; a certificate is for everybody. */
	if (rc == ST_OK && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
		rc = err_sys(err, ST_FATAL, "sync");
	if (close(fd) < 0 && rc == ST_OK)
		rc = err_sys(err, ST_FATAL, "close");
	if (rc != ST_OK) {
		err_note(err, "%s", path);
		unlink(path);
	}
	return rc;
}

static enum status write_both(
	const struct keygen *k, EVP_PKEY *key, X509 *x, struct err *err)
{
	/* Memory that is wiped when it is freed. */
	BIO *secret = BIO_new(BIO_s_secmem()), *open_text = BIO_new(BIO_s_mem());
	enum status rc = ST_OK;
	int ok;

	if (!secret || !open_text)
		xmemory_gone();
	ok = PEM_write_bio_PKCS8PrivateKey(secret, key,
		     k->password ? EVP_aes_256_cbc() : NULL, k->password,
		     k->password ? (int)strlen(k->password) : 0, NULL, NULL) &&
		PEM_write_bio_X509(open_text, x);
	if (!ok)
		rc = err_set(err, ST_FATAL, EX_SOFTWARE, "no key: %s", ssl_reason());
	if (rc == ST_OK)
		rc = make_file(k->key, 0600, secret, err);
	if (rc == ST_OK) {
		rc = make_file(k->cert, 0644, open_text, err);
		if (rc != ST_OK)
			unlink(k->key); /* ours, of a moment ago */
	}
	BIO_free(secret);
	BIO_free(open_text);
	return rc;
}

enum status sign_keygen(const struct keygen *k, char sha256[65], struct err *err)
{
	enum status rc = ST_OK;
	EVP_PKEY *key = NULL;
	X509 *x = NULL;

	if (mark_there(AT_FDCWD, k->cert)) /* better known before there is a key */
		return err_set(err, ST_DENIED, EX_CANTCREAT,
			"%s: is there already, and stays as it is; name another file",
			k->cert);
	key = k->kind == SIGN_RSA ? EVP_RSA_gen(RSA_BITS) : EVP_EC_gen("P-256");
	x = X509_new();
	if (!key || !x || !fill(x, key, k))
		rc = err_set(err, ST_FATAL, EX_SOFTWARE,
			"a certificate for \"%s\" cannot be made: %s", k->name,
			ssl_reason());
	if (rc == ST_OK)
		rc = write_both(k, key, x, err);
	if (rc == ST_OK)
		cert_sha256(sha256, x);
	EVP_PKEY_free(key);
	X509_free(x);
	return rc;
}
