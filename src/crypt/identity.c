/* identity.c: who can read what is encrypted, and the files they keep their keys in. */
#include "own.h"

#include <popferry/clock.h>
#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IDENTITIES_MAX = 256 };

/* ---- files ---- */

void wipe_free(void *p, size_t n)
{
	if (p)
		OPENSSL_cleanse(p, n);
	free(p);
}

/* A pipe (of a shell: <(pass show key)) is as closed as it is. */
static enum status judge(int fd, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, ST_FATAL, "stat");
	if (S_ISDIR(st.st_mode))
		return err_set(err, ST_DENIED, EX_CONFIG, "is a directory");
	if (!S_ISREG(st.st_mode))
		return ST_OK;
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return err_set(err, ST_DENIED, EX_CONFIG,
			"belongs to another user (%lu)", (unsigned long)st.st_uid);
	if (st.st_mode & 0077)
		return err_set(err, ST_DENIED, EX_CONFIG,
			"others can read or write it (mode %03o): chmod 600 closes it",
			(unsigned)(st.st_mode & 0777));
	return ST_OK;
}

static enum status read_all(char **out, size_t *n, int fd, struct err *err)
{
	char *p = xmalloc(KEY_FILE_MAX + 1);
	enum status rc = ST_OK;
	ssize_t k;

	*n = 0;
	do {
		k = read(fd, p + *n, KEY_FILE_MAX - *n);
		if (k > 0)
			*n += (size_t)k;
	} while (*n < KEY_FILE_MAX && (k > 0 || (k < 0 && errno == EINTR)));
	if (k < 0)
		rc = err_sys(err, ST_FATAL, "read");
	else if (*n == KEY_FILE_MAX)
		rc = err_set(
			err, ST_DENIED, EX_CONFIG, "is too large for a file of keys");
	p[*n] = '\0';
	if (rc == ST_OK)
		*out = p;
	else
		wipe_free(p, *n);
	return rc;
}

enum status key_file_read(
	char **out, size_t *n, const char *path, bool secret, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	enum status rc = ST_OK;

	if (fd < 0)
		return err_set(
			err, ST_DENIED, EX_NOINPUT, "%s: %s", path, strerror(errno));
	if (secret)
		rc = judge(fd, err);
	if (rc == ST_OK)
		rc = read_all(out, n, fd, err);
	close(fd);
	return rc == ST_OK ? rc : err_note(err, "%s", path);
}

bool lines_next(struct lines *l, const char **s, size_t *n)
{
	while (l->p < l->end) {
		const char *lf = memchr(l->p, '\n', (size_t)(l->end - l->p)),
			   *end = lf ? lf : l->end;

		*s = l->p;
		*n = (size_t)(end - l->p);
		l->p = lf ? lf + 1 : l->end;
		l->no++;
		while (*n && strchr(" \t\r", (*s)[*n - 1]))
			--*n;
		if (*n && **s != '#')
			return true;
	}
	return false;
}

/* ---- the list ---- */

void identities_open(struct identities **out)
{
	*out = xcalloc(1, sizeof(**out));
}

void identities_close(struct identities **i)
{
	size_t k;

	if (!*i)
		return;
	for (k = 0; k < (*i)->n; k++) {
		struct identity *id = &(*i)->v[k];

		if (id->passphrase)
			wipe_free(id->passphrase, strlen(id->passphrase));
		EVP_PKEY_free(id->pkey);
	}
	wipe_free((*i)->v, (*i)->n * sizeof(*(*i)->v));
	free(*i);
	*i = NULL;
}

size_t identities_count(const struct identities *i)
{
	return i->n;
}

struct identity *identities_new(struct identities *i, enum identity_kind kind)
{
	/* Copied by hand: realloc would leave secrets behind. */
	struct identity *v = xcalloc(i->n + 1, sizeof(*v));

	if (i->n)
		memcpy(v, i->v, i->n * sizeof(*v));
	wipe_free(i->v, i->n * sizeof(*v));
	i->v = v;
	v[i->n].kind = kind;
	return &v[i->n++];
}

enum status identities_add_passphrase(
	struct identities *i, const char *passphrase, struct err *err)
{
	if (i->n >= IDENTITIES_MAX)
		return err_set(err, ST_DENIED, EX_USAGE, "more than %d identities",
			IDENTITIES_MAX);
	identities_new(i, ID_PASSPHRASE)->passphrase = xstrdup(passphrase);
	return ST_OK;
}

/* ---- what is in the files ---- */

static enum status add_secret(
	struct identities *i, const char *s, size_t n, struct err *err)
{
	unsigned char secret[POINT], point[POINT];
	struct identity *id;

	if (n > 4 && memcmp(s, "age1", 4) == 0)
		return err_set(err, ST_DENIED, EX_CONFIG,
			"is a recipient, with which nothing can be read: name the file that "
			"has its AGE-SECRET-KEY-1");
	if (!bech32_read(secret, "age-secret-key-", s, n))
		return err_set(err, ST_DENIED, EX_CONFIG,
			"is no identity of age: expected \"AGE-SECRET-KEY-1\" and 58 letters "
			"and digits, and not one of them is wrong");
	if (!x25519_public(point, secret))
		return err_set(err, ST_DENIED, EX_CONFIG,
			"OpenSSL has no X25519 here; is it set up for FIPS?");
	id = identities_new(i, ID_X25519);
	memcpy(id->secret, secret, POINT);
	memcpy(id->point, point, POINT);
	OPENSSL_cleanse(secret, sizeof(secret));
	return ST_OK;
}

static enum status add_lines(
	struct identities *i, const char *p, size_t n, struct err *err)
{
	struct lines l = { p, p + n, 0 };
	size_t found = 0, k;
	enum status rc = ST_OK;
	const char *s;

	while (rc == ST_OK && lines_next(&l, &s, &k)) {
		if (found++ == IDENTITIES_MAX)
			return err_set(err, ST_DENIED, EX_CONFIG,
				"has more than %d identities", IDENTITIES_MAX);
		rc = add_secret(i, s, k, err);
		if (rc != ST_OK)
			err_note(err, "line %u", l.no);
	}
	if (rc == ST_OK && !found)
		rc = err_set(err, ST_DENIED, EX_CONFIG, "holds no identity");
	return rc;
}

struct asking {
	crypt_ask *ask;
	void *ctx;
	struct err *err;
	bool asked, failed;
};

static enum status ask(struct asking *a, char **out)
{
	enum status rc;

	a->asked = true;
	if (!a->ask) {
		a->failed = true;
		return err_set(a->err, ST_DENIED, EX_CONFIG,
			"is encrypted, and its passphrase was not given (--identity-password-file)");
	}
	rc = a->ask(a->ctx, out, a->err);
	a->failed = rc != ST_OK;
	return rc;
}

static int answer(char *to, int cap, int writing, void *ctx)
{
	char *secret = NULL;
	size_t n = 0;

	(void)writing;
	if (ask(ctx, &secret) == ST_OK)
		n = strlen(secret);
	if (n > (size_t)cap)
		n = 0;
	if (n)
		memcpy(to, secret, n);
	wipe_free(secret, secret ? strlen(secret) : 0);
	return n ? (int)n : -1;
}

static enum status add_pem(
	struct identities *i, const char *p, size_t n, struct asking *a)
{
	BIO *bio = BIO_new_mem_buf(p, (int)n);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, answer, a) : NULL;

	BIO_free(bio);
	ERR_clear_error();
	if (key) {
		identities_new(i, ID_PKEY)->pkey = key;
		return ST_OK;
	}
	if (a->failed)
		return ST_DENIED;
	return err_set(a->err, ST_DENIED, EX_CONFIG, "%s",
		a->asked ? "cannot be decrypted: the passphrase is wrong"
			 : "holds no private key in PEM");
}

static enum status take_text(void *ctx, const void *p, size_t n, struct err *err)
{
	if (buf_add(ctx, p, n))
		return ST_OK;
	return err_set(err, ST_DENIED, EX_CONFIG, "is too large for a file of keys");
}

/* The key file is read from a descriptor again: it is an age file like any other. */
static enum status add_encrypted(
	struct identities *i, const char *p, size_t n, struct asking *a)
{
	struct identities *by = NULL;
	struct buf text = BUF_INIT(KEY_FILE_MAX);
	char *secret = NULL;
	int fd = memfd_create("identity", MFD_CLOEXEC);
	enum status rc = fd < 0 ? err_sys(a->err, ST_FATAL, "memory") : ask(a, &secret);

	identities_open(&by);
	if (rc == ST_OK)
		rc = identities_add_passphrase(by, secret, a->err);
	if (rc == ST_OK)
		rc = fs_write(fd, p, n, a->err);
	if (rc == ST_OK && lseek(fd, 0, SEEK_SET) < 0)
		rc = err_sys(a->err, ST_FATAL, "memory");
	if (rc == ST_OK)
		rc = age_stream(fd, by, take_text, &text, a->err);
	if (rc == ST_OK)
		rc = add_lines(i, buf_str(&text), text.n, a->err);
	wipe_free(secret, secret ? strlen(secret) : 0);
	if (text.p)
		OPENSSL_cleanse(text.p, text.cap);
	buf_free(&text);
	identities_close(&by);
	if (fd >= 0)
		close(fd);
	return rc;
}

enum status identities_add(struct identities *i, const char *path, crypt_ask *how,
	void *ctx, struct err *err)
{
	struct asking a = { how, ctx, err, false, false };
	size_t n = 0;
	char *p = NULL;
	enum status rc;

	if (i->n >= IDENTITIES_MAX)
		return err_set(err, ST_DENIED, EX_USAGE, "more than %d identities",
			IDENTITIES_MAX);
	rc = key_file_read(&p, &n, path, true, err);
	if (rc != ST_OK)
		return rc;
	if (text_starts(p, "age-encryption.org/"))
		rc = add_encrypted(i, p, n, &a);
	else if (strstr(p, "-----BEGIN AGE "))
		rc = err_set(err, ST_DENIED, EX_CONFIG,
			"is armored: take the armor off with age --decrypt");
	else if (strstr(p, "-----BEGIN "))
		rc = add_pem(i, p, n, &a);
	else
		rc = add_lines(i, p, n, err);
	wipe_free(p, n);
	return rc == ST_OK ? rc : err_note(err, "%s", path);
}

/* ---- a new one ---- */

static enum status give_fd(void *ctx, const void *p, size_t n, struct err *err)
{
	return fs_write(*(const int *)ctx, p, n, err);
}

static enum status write_identity(
	int fd, const struct buf *text, const char *passphrase, struct err *err)
{
	struct recipients *r = NULL;
	struct encryptor *e = NULL;
	enum status rc;

	if (!passphrase)
		return fs_write(fd, text->p, text->n, err);
	recipients_open(&r);
	rc = recipients_add_passphrase(r, passphrase, err);
	if (rc == ST_OK)
		rc = encryptor_open(&e, r, give_fd, &fd, err);
	if (rc == ST_OK)
		rc = encryptor_write(e, text->p, text->n, err);
	if (rc == ST_OK)
		rc = encryptor_end(e, err);
	encryptor_close(&e);
	recipients_close(&r);
	return rc;
}

static void identity_text(struct buf *b, const unsigned char secret[POINT],
	const char recipient[CRYPT_RECIPIENT])
{
	size_t from;
	char when[24];

	buf_addf(b, "# created: %s\n# public key: %s\n",
		clock_rfc3339(when, clock_utc()), recipient);
	from = b->n;
	bech32_write(b, "age-secret-key-", secret);
	for (; from < b->n; from++)
		if (b->p[from] >= 'a' && b->p[from] <= 'z')
			b->p[from] = (char)(b->p[from] - 32);
	buf_addc(b, '\n');
}

static enum status put_identity(const char *path, const struct buf *text,
	const char *passphrase, struct err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	enum status rc;

	if (fd < 0 && (errno == EEXIST || errno == ELOOP))
		return err_set(err, ST_DENIED, EX_CANTCREAT,
			"%s: is there already, and stays as it is; name another file",
			path);
	if (fd < 0)
		return err_sys(err, ST_FATAL, "create %s", path);
	rc = write_identity(fd, text, passphrase, err);
	if (rc == ST_OK && fsync(fd) < 0)
		rc = err_sys(err, ST_FATAL, "sync");
	if (close(fd) < 0 && rc == ST_OK)
		rc = err_sys(err, ST_FATAL, "close");
	if (rc != ST_OK) {
		err_note(err, "%s", path);
		unlink(path);
	}
	return rc;
}

enum status age_keygen(const char *path, const char *passphrase,
	char recipient[CRYPT_RECIPIENT], struct err *err)
{
	unsigned char secret[POINT], point[POINT];
	struct buf text = BUF_INIT(1024), to = BUF_INIT(CRYPT_RECIPIENT);
	enum status rc = random_bytes(secret, sizeof(secret), err);

	if (rc == ST_OK && !x25519_public(point, secret))
		rc = err_set(err, ST_DENIED, EX_CONFIG,
			"OpenSSL has no X25519 here; is it set up for FIPS?");
	if (rc == ST_OK) {
		bech32_write(&to, "age", point);
		memcpy(recipient, to.p, CRYPT_RECIPIENT);
		identity_text(&text, secret, recipient);
		rc = put_identity(path, &text, passphrase, err);
	}
	OPENSSL_cleanse(secret, sizeof(secret));
	if (text.p)
		OPENSSL_cleanse(text.p, text.cap);
	buf_free(&text);
	buf_free(&to);
	return rc;
}
