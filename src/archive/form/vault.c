/* vault.c: the files in segments/, read and written, as they are or encrypted. */
#include "vault.h"

#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum status vault_closed(const struct policy *p, struct err *err)
{
	struct buf names = BUF_INIT(ERR_TEXT / 2);
	enum status rc;
	unsigned i;

	for (i = 0; i < p->to_n; i++)
		buf_addf(&names, "%s%s", i ? ", " : "", p->to[i]);
	rc = err_set(err, ST_DENIED, EX_NOPERM,
		"it is encrypted to %s: name a file with the key of one of these with "
		"--identity",
		buf_str(&names));
	buf_free(&names);
	return rc;
}

enum status vault_note(struct err *err, const char *file)
{
	if (err && text_starts(err->text, "segments/"))
		return err->status;
	return err_note(err, "segments/%s", file);
}

static enum status open_fd(
	int *fd, const struct vault *v, const char *file, struct err *err)
{
	/* O_NONBLOCK: a pipe of that name must not hold us up. */
	*fd = openat(v->segdir, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (*fd >= 0)
		return ST_OK;
	/* A link or a socket: what is not a file of this archive costs its messages,
	 * and no others. */
	if (errno == ELOOP || errno == ENXIO)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"segments/%s: it is no regular file", file);
	if (errno == ENOENT) /* whoever asks has just seen it */
		return err_set(err, ST_FATAL, EX_TEMPFAIL,
			"segments/%s is gone: messages were disposed of meanwhile, or "
			"somebody took it away; try again",
			file);
	return err_sys(err, ST_FATAL, "open segments/%s", file);
}

static enum status open_bytes(struct bytes **out, const struct vault *v, int fd,
	const char *file, struct err *err)
{
	enum status rc;

	if (v->policy->crypt == CRYPT_NONE)
		rc = bytes_plain(out, fd, true, err);
	else
		rc = bytes_salvage(out, fd, true, v->ids, v->tmpdir, err);
	return rc == ST_OK ? rc : vault_note(err, file);
}

enum status vault_open(
	struct bytes **out, const struct vault *v, const char *file, struct err *err)
{
	enum status rc;
	int fd;

	*out = NULL;
	if (v->policy->crypt != CRYPT_NONE && !v->ids)
		return vault_closed(v->policy, err);
	rc = open_fd(&fd, v, file, err);
	return rc == ST_OK ? open_bytes(out, v, fd, file, err) : rc;
}

static enum status read_all(char **text, size_t *n, struct bytes *b, size_t max,
	const char *file, struct err *err)
{
	enum status rc;

	if (bytes_size(b) > max)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"segments/%s is damaged: it is far too large", file);
	*text = xmalloc((size_t)bytes_size(b) + 1);
	rc = bytes_read(b, *text, (size_t)bytes_size(b), 0, n, err);
	if (rc == ST_OK) {
		(*text)[*n] = '\0';
		return ST_OK;
	}
	free(*text);
	*text = NULL;
	return vault_note(err, file);
}

enum status vault_read(char **text, size_t *n, const struct vault *v, const char *file,
	size_t max, struct err *err)
{
	struct bytes *b = NULL;
	enum status rc;

	if (v->policy->crypt == CRYPT_NONE)
		return fs_read(text, n, v->segdir, file, max, err);
	rc = file_there(v->segdir, file, err);
	if (rc == ST_OK)
		rc = vault_open(&b, v, file, err);
	if (rc == ST_OK)
		rc = read_all(text, n, b, max, file, err);
	bytes_close(&b);
	return rc;
}

static enum status collect(void *ctx, const void *p, size_t n, struct err *err)
{
	return buf_add(ctx, p, n)
		? ST_OK
		: err_set(err, ST_FATAL, EX_SOFTWARE, "an index is too large");
}

enum status vault_replace(const struct vault *v, int dir, const char *file,
	const void *p, size_t n, struct err *err)
{
	struct buf b = BUF_INIT(2 * n + 1024 * 1024);
	struct encryptor *e = NULL;
	enum status rc;

	if (v->policy->crypt == CRYPT_NONE)
		return fs_replace(dir, file, p, n, 0444, err);
	rc = encryptor_open(&e, v->to, collect, &b, err);
	if (rc == ST_OK)
		rc = encryptor_write(e, p, n, err);
	if (rc == ST_OK)
		rc = encryptor_end(e, err);
	if (rc == ST_OK)
		rc = fs_replace(dir, file, b.p, b.n, 0444, err);
	encryptor_close(&e);
	buf_free(&b);
	return rc;
}
