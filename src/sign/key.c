/* key.c: a key and its certificate, taken from where they are kept. */
#include "own.h"

#include <popferry/clock.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the passphrase, when one is asked for ---- */

struct asking {
	const struct signer_config *cfg;
	struct err *err;
	bool asked, failed;
};

static int answer(char *out, int cap, int rwflag, void *ctx)
{
	struct asking *a = ctx;
	char *password = NULL;
	size_t n;

	(void)rwflag;
	a->asked = true;
	if (!a->cfg->password) {
		a->failed = true;
		err_set(a->err, ST_DENIED, EX_CONFIG,
			"key %s: is encrypted, and there is no passphrase",
			a->cfg->key);
	} else if (a->cfg->password(a->cfg->ctx, &password, a->err) != ST_OK) {
		a->failed = true;
	}
	if (a->failed)
		return -1;
	n = strlen(password);
	if (n > (size_t)cap)
		n = 0; /* longer than any that OpenSSL can have encrypted with */
	memcpy(out, password, n);
	explicit_bzero(password, strlen(password));
	free(password);
	return n ? (int)n : -1;
}

/* ---- the key ---- */

/* As a password file is judged: whoever can read it can sign. */
static enum status judge(int fd, const char *path, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(
			err, ST_DENIED, EX_CONFIG, "key %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(err, ST_DENIED, EX_CONFIG,
			"key %s: is not a regular file", path);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return err_set(err, ST_DENIED, EX_CONFIG,
			"key %s: belongs to another user (%lu)", path,
			(unsigned long)st.st_uid);
	if (st.st_mode & 0077)
		return err_set(err, ST_DENIED, EX_CONFIG,
			"key %s: others can read or write it (mode %03o); run: chmod 600 %s",
			path, (unsigned)(st.st_mode & 0777), path);
	if (st.st_size > PEM_MAX)
		return err_set(err, ST_DENIED, EX_CONFIG, "key %s: is too large", path);
	return ST_OK;
}

static enum status key_text(char **out, size_t *n, const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	enum status rc;
	ssize_t got;

	if (fd < 0)
		return err_set(err, ST_DENIED, EX_CONFIG, "key %s: %s", path,
			errno == ELOOP ? "is a symbolic link; name the file itself"
				       : strerror(errno));
	rc = judge(fd, path, err);
	if (rc == ST_OK) {
		*out = xcalloc(1, PEM_MAX);
		got = fs_pread(fd, *out, PEM_MAX, 0);
		if (got < 0)
			rc = err_sys(err, ST_FATAL, "key %s", path);
		*n = got > 0 ? (size_t)got : 0;
	}
	close(fd);
	return rc;
}

static enum status key_file(EVP_PKEY **out, struct asking *a, struct err *err)
{
	const char *path = a->cfg->key;
	char *text = NULL;
	size_t n = 0;
	enum status rc = key_text(&text, &n, path, err);
	BIO *bio;

	if (rc == ST_OK) {
		bio = BIO_new_mem_buf(text, (int)n);
		*out = PEM_read_bio_PrivateKey(bio, NULL, answer, a);
		BIO_free(bio);
		if (!*out && a->failed)
			rc = ST_DENIED;
		else if (!*out && a->asked)
			rc = err_set(err, ST_DENIED, EX_CONFIG,
				"key %s: cannot be decrypted: the passphrase is wrong",
				path);
		else if (!*out)
			rc = err_set(err, ST_DENIED, EX_CONFIG,
				"key %s: holds no private key in PEM", path);
	}
	if (text)
		explicit_bzero(text, n);
	free(text);
	ERR_clear_error();
	return rc;
}

static enum status key_token(EVP_PKEY **out, struct asking *a, struct err *err)
{
	const char *why;

	*out = pkcs11_key(a->cfg->key, answer, a, &why);
	if (*out)
		return ST_OK;
	if (a->failed)
		return ST_DENIED;
	return err_set(err, ST_DENIED, EX_CONFIG, "key %s: %s", a->cfg->key, why);
}

/* ---- both ---- */

static enum status today(X509 *x, const char *path, struct err *err)
{
	int64_t now = clock_utc(), from = asn1_seconds(X509_get0_notBefore(x)),
		to = asn1_seconds(X509_get0_notAfter(x));
	const char *unfit = cert_unfit(x);
	char when[24];

	if (unfit)
		return err_set(err, ST_DENIED, EX_CONFIG,
			"certificate %s: cannot sign: %s", path, unfit);
	if (now > to)
		return err_set(err, ST_DENIED, EX_CONFIG,
			"certificate %s: expired at %s; get a new one", path,
			clock_rfc3339(when, to));
	if (now < from)
		return err_set(err, ST_DENIED, EX_CONFIG,
			"certificate %s: is not valid before %s; is our clock right?",
			path, clock_rfc3339(when, from));
	return ST_OK;
}

enum status signer_open(
	struct signer **out, const struct signer_config *cfg, struct err *err)
{
	struct asking a = { cfg, err, false, false };
	struct signer *s = xcalloc(1, sizeof(*s));
	enum status rc = cert_read(&s->chain, "certificate", cfg->cert, err);

	if (rc == ST_OK) {
		s->cert = sk_X509_shift(s->chain);
		rc = today(s->cert, cfg->cert, err);
	}
	if (rc == ST_OK)
		rc = text_starts(cfg->key, "pkcs11:") ? key_token(&s->key, &a, err)
						      : key_file(&s->key, &a, err);
	if (rc == ST_OK && X509_check_private_key(s->cert, s->key) != 1) {
		ERR_clear_error();
		rc = err_set(err, ST_DENIED, EX_CONFIG,
			"the certificate %s is not that of the key %s", cfg->cert,
			cfg->key);
	}
	if (rc == ST_OK) {
		*out = s;
		s = NULL;
	}
	signer_close(&s);
	return rc;
}

void signer_close(struct signer **s)
{
	if (!*s)
		return;
	EVP_PKEY_free((*s)->key);
	X509_free((*s)->cert);
	sk_X509_pop_free((*s)->chain, X509_free);
	free(*s);
	*s = NULL;
}
