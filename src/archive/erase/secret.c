/* secret.c: the words of a record, encrypted to whom the archive is encrypted to. */
#include "secret.h"
#include "../form/json.h"
#include "record.h"

#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is encrypted is filled up to a multiple of this, so that its size tells
 * little. */
enum { SECRET_STEP = 1024 };

bool vault_is_closed(const struct vault *v)
{
	return v->policy->crypt != CRYPT_NONE && !v->ids;
}

/* ---- writing ---- */

static enum status collect(void *ctx, const void *p, size_t n, struct err *err)
{
	return buf_add(ctx, p, n)
		? ST_OK
		: err_set(err, ST_DENIED, EX_USAGE, "the words are too many");
}

static enum status encrypt(
	struct buf *out, const struct vault *v, const struct buf *text, struct err *err)
{
	struct encryptor *e = NULL;
	enum status rc = encryptor_open(&e, v->to, collect, out, err);

	if (rc == ST_OK)
		rc = encryptor_write(e, text->p, text->n, err);
	if (rc == ST_OK)
		rc = encryptor_end(e, err);
	encryptor_close(&e);
	return rc;
}

enum status secret_add(struct buf *b, const struct vault *v, const struct buf *members,
	struct err *err)
{
	struct buf text = BUF_INIT(SECRET_MAX), sealed = BUF_INIT(2 * SECRET_MAX);
	enum status rc;

	if (v->policy->crypt == CRYPT_NONE)
		return ST_OK;
	buf_addc(&text, '{');
	buf_add(&text, members->p, members->n);
	buf_addc(&text, '}');
	while ((text.n + 1) % SECRET_STEP && buf_addc(&text, ' '))
		;
	rc = buf_addc(&text, '\n')
		? encrypt(&sealed, v, &text, err)
		: err_set(err, ST_DENIED, EX_USAGE, "the words are too many");
	if (rc == ST_OK) {
		buf_adds(b, ",\"secret\":\"");
		text_base64(b, sealed.p, sealed.n);
		buf_addc(b, '"');
	}
	buf_free(&text);
	buf_free(&sealed);
	return rc;
}

/* ---- reading ---- */

static bool decode(struct buf *out, const char *s)
{
	size_t n = strlen(s), pad = 0;
	unsigned char *p;
	int k;

	if (n == 0 || n % 4 || n > 3 * SECRET_MAX)
		return false;
	while (pad < 2 && s[n - 1 - pad] == '=')
		pad++;
	p = xmalloc(n);
	k = EVP_DecodeBlock(p, (const unsigned char *)s, (int)n);
	if (k > 0)
		buf_add(out, p, (size_t)k - pad);
	free(p);
	return k > 0;
}

/* What is encrypted goes through a file without a name, as all that is decrypted
 * does. */
static enum status decrypt(
	char **out, const struct vault *v, const struct buf *sealed, struct err *err)
{
	struct bytes *b = NULL;
	int fd = -1;
	size_t n;
	enum status rc = fs_tmpfile(&fd, v->tmpdir, err);

	if (rc == ST_OK)
		rc = fs_write(fd, sealed->p, sealed->n, err);
	if (rc != ST_OK && fd >= 0)
		close(fd);
	if (rc == ST_OK)
		rc = bytes_decrypt(&b, fd, true, v->ids, v->tmpdir, err);
	if (rc == ST_OK && bytes_size(b) > SECRET_MAX)
		rc = err_set(err, ST_DENIED, EX_DATAERR, "it is far too large");
	if (rc == ST_OK) {
		*out = xmalloc((size_t)bytes_size(b) + 1);
		rc = bytes_read(b, *out, (size_t)bytes_size(b), 0, &n, err);
		if (rc == ST_OK)
			(*out)[n] = '\0';
	}
	if (rc != ST_OK) {
		free(*out);
		*out = NULL;
	}
	bytes_close(&b);
	return rc;
}

enum status secret_read(
	char **out, const char *text, const struct vault *v, struct err *err)
{
	struct buf sealed = BUF_INIT(2 * SECRET_MAX);
	char *base64;
	enum status rc;

	*out = NULL;
	if (v->policy->crypt == CRYPT_NONE) {
		*out = xstrdup(text);
		return ST_OK;
	}
	if (!v->ids)
		return ST_END;
	base64 = json_text(text, "secret");
	if (base64 && decode(&sealed, base64))
		rc = decrypt(out, v, &sealed, err);
	else
		rc = err_set(err, ST_DENIED, EX_DATAERR, "it has no words");
	free(base64);
	buf_free(&sealed);
	return rc;
}
