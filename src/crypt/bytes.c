/* bytes.c: the bytes of a file, whatever it is kept in; which kind of encryption. */
#include "own.h"

#include <popferry/fs.h>
#include <popferry/mem.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- encrypting ---- */

const char *crypt_suffix(enum crypt_kind k)
{
	static const char *const suffixes[] = { "", ".age", ".p7m" };

	return suffixes[k];
}

enum status encryptor_open(struct encryptor **out, const struct recipients *r,
	crypt_give *give, void *ctx, struct err *err)
{
	struct encryptor *e = NULL;
	enum status rc;

	if (r->kind == CRYPT_NONE)
		return err_set(err, ST_DENIED, EX_USAGE, "encrypt to whom?");
	rc = r->kind == CRYPT_AGE ? age_encryptor(&e, r, err)
				  : cms_encryptor(&e, r, err);
	if (rc != ST_OK)
		return rc;
	e->give = give;
	e->ctx = ctx;
	*out = e;
	return ST_OK;
}

enum status encryptor_write(
	struct encryptor *e, const void *p, size_t n, struct err *err)
{
	return e->ops->write(e, p, n, err);
}

enum status encryptor_end(struct encryptor *e, struct err *err)
{
	return e->ops->end(e, err);
}

void encryptor_key(const struct encryptor *e, struct identities *i)
{
	e->ops->key(e, i);
}

void encryptor_close(struct encryptor **e)
{
	if (*e)
		(*e)->ops->close(*e);
	*e = NULL;
}

/* ---- reading ---- */

enum status read_at(int fd, void *p, size_t n, uint64_t off, struct err *err)
{
	ssize_t got = fs_pread(fd, p, n, off);
	enum status rc;

	if (got < 0) {
		rc = err_sys(err, ST_FATAL, "read");
		if (err)
			err->exit = EX_IOERR;
		return rc;
	}
	if ((size_t)got < n)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"the file became shorter while it was read");
	return ST_OK;
}

enum status file_size(int fd, uint64_t *out, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, ST_FATAL, "stat");
	if (!S_ISREG(st.st_mode))
		return err_set(err, ST_DENIED, EX_DATAERR, "it is no regular file");
	*out = (uint64_t)st.st_size;
	return ST_OK;
}

enum status bytes_read(
	struct bytes *b, void *p, size_t n, uint64_t off, size_t *got, struct err *err)
{
	uint64_t left = off < b->size ? b->size - off : 0;

	*got = n < left ? n : (size_t)left;
	return *got ? b->ops->read(b, p, *got, off, err) : ST_OK;
}

uint64_t bytes_size(const struct bytes *b)
{
	return b->size;
}

enum status bytes_twin(struct bytes **out, const struct bytes *b, struct err *err)
{
	return b->ops->twin(out, b, err);
}

void bytes_close(struct bytes **b)
{
	if (!*b)
		return;
	if ((*b)->owned)
		close((*b)->fd);
	(*b)->ops->close(*b);
	*b = NULL;
}

/* ---- a file as it is ---- */

static enum status plain_read(
	struct bytes *b, void *p, size_t n, uint64_t off, struct err *err)
{
	return read_at(b->fd, p, n, off, err);
}

static enum status plain_twin(
	struct bytes **out, const struct bytes *b, struct err *err)
{
	(void)err;
	*out = xmalloc(sizeof(**out));
	**out = *b;
	(*out)->owned = false;
	return ST_OK;
}

static void plain_close(struct bytes *b)
{
	free(b);
}

enum status bytes_plain(struct bytes **out, int fd, bool owned, struct err *err)
{
	static const struct bytes_ops ops = { plain_read, plain_twin, plain_close };
	uint64_t size;
	enum status rc = file_size(fd, &size, err);

	if (rc != ST_OK) {
		if (owned)
			close(fd);
		return rc;
	}
	*out = xmalloc(sizeof(**out));
	**out = (struct bytes){ &ops, size, fd, owned };
	return ST_OK;
}

/* ---- a file under a veil ---- */

struct veiled {
	struct bytes base;
	struct veil *v;
};

static enum status veiled_read(
	struct bytes *b, void *p, size_t n, uint64_t off, struct err *err)
{
	enum status rc = read_at(b->fd, p, n, off, err);

	if (rc == ST_OK)
		veil_apply(((struct veiled *)b)->v, off, p, p, n);
	return rc;
}

static enum status veiled_twin(
	struct bytes **out, const struct bytes *b, struct err *err)
{
	struct veiled *t = xmalloc(sizeof(*t));

	(void)err;
	*t = *(const struct veiled *)b;
	t->base.owned = false;
	*out = &t->base;
	return ST_OK;
}

static void veiled_close(struct bytes *b)
{
	struct veiled *v = (struct veiled *)b;

	if (b->owned) /* else it is the other one's */
		veil_close(&v->v);
	free(b);
}

void veiled_bytes(struct bytes **out, int fd, struct veil *v, uint64_t size)
{
	static const struct bytes_ops ops = { veiled_read, veiled_twin, veiled_close };
	struct veiled *b = xmalloc(sizeof(*b));

	*b = (struct veiled){ { &ops, size, fd, true }, v };
	*out = &b->base;
}

/* ---- an encrypted one ---- */

/* What its first bytes say; CRYPT_NONE also when it cannot be read. */
static enum crypt_kind kind_of(int fd)
{
	static const char age[] = "age-encryption.org/", der = 0x30;
	char p[sizeof(age) - 1];
	ssize_t n = fs_pread(fd, p, sizeof(p), 0);

	if (n == (ssize_t)sizeof(p) && memcmp(p, age, sizeof(p)) == 0)
		return CRYPT_AGE;
	return n > 0 && p[0] == der ? CRYPT_CMS : CRYPT_NONE;
}

static enum status decrypt(struct bytes **out, int fd, bool owned, bool cut,
	const struct identities *i, int tmpdir, struct err *err)
{
	enum status rc;

	switch (kind_of(fd)) {
	case CRYPT_AGE:
		rc = age_bytes(out, fd, owned, cut, i, err);
		break;
	case CRYPT_CMS:
		rc = cms_bytes(out, fd, i, tmpdir, err);
		if (rc == ST_OK && owned)
			close(fd); /* all of it was read */
		break;
	default:
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"it is neither an age file nor CMS in DER");
	}
	if (rc != ST_OK && owned)
		close(fd);
	return rc;
}

enum status bytes_decrypt(struct bytes **out, int fd, bool owned,
	const struct identities *i, int tmpdir, struct err *err)
{
	return decrypt(out, fd, owned, false, i, tmpdir, err);
}

enum status bytes_salvage(struct bytes **out, int fd, bool owned,
	const struct identities *i, int tmpdir, struct err *err)
{
	return decrypt(out, fd, owned, true, i, tmpdir, err);
}
