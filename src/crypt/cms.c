/* cms.c: AuthEnvelopedData with AES-256-GCM, in bounded memory both ways. */
#include "own.h"

#include <popferry/fs.h>
#include <popferry/mem.h>

#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of one key and nonce GCM takes no more: 2^36 - 32 bytes. */
#define GCM_MOST ((UINT64_C(1) << 36) - 32)

static EVP_CIPHER_CTX *gcm(const unsigned char key[CRYPT_KEY],
	const unsigned char nonce[NONCE], int encrypt)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();

	if (!c ||
		EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce, encrypt) != 1)
		xmemory_gone();
	return c;
}

/* ---- encrypting ---- */

struct cms_encryptor {
	struct encryptor base;
	unsigned char key[CRYPT_KEY];
	EVP_CIPHER_CTX *c;
	struct buf head; /* until it is given */
	uint64_t total;
	size_t n; /* waiting in chunk */
	unsigned char chunk[CHUNK];
	struct buf out;
};

static enum status give_head(struct cms_encryptor *e, struct err *err)
{
	enum status rc = ST_OK;

	if (e->head.n)
		rc = e->base.give(e->base.ctx, e->head.p, e->head.n, err);
	buf_clear(&e->head);
	return rc;
}

static enum status give_chunk(struct cms_encryptor *e, struct err *err)
{
	enum status rc = give_head(e, err);
	int k;

	if (rc != ST_OK || !e->n)
		return rc;
	e->total += e->n;
	if (e->total > GCM_MOST)
		return err_set(err, ST_DENIED, EX_DATAERR,
			"more than %" PRIu64 " bytes cannot be in one file of CMS",
			GCM_MOST);
	if (EVP_EncryptUpdate(e->c, e->chunk, &k, e->chunk, (int)e->n) != 1)
		xmemory_gone();
	buf_clear(&e->out);
	ber_head(&e->out, 0x04, e->n);
	buf_add(&e->out, e->chunk, e->n);
	e->n = 0;
	return e->base.give(e->base.ctx, e->out.p, e->out.n, err);
}

static enum status cms_write(
	struct encryptor *base, const void *d, size_t n, struct err *err)
{
	struct cms_encryptor *e = (struct cms_encryptor *)base;
	enum status rc = ST_OK;
	const char *p = d;

	while (rc == ST_OK && n) {
		size_t k = CHUNK - e->n < n ? CHUNK - e->n : n;

		memcpy(e->chunk + e->n, p, k);
		e->n += k;
		p += k;
		n -= k;
		if (e->n == CHUNK)
			rc = give_chunk(e, err);
	}
	return rc;
}

static enum status cms_end(struct encryptor *base, struct err *err)
{
	struct cms_encryptor *e = (struct cms_encryptor *)base;
	enum status rc = give_chunk(e, err);
	unsigned char tag[TAG];
	int k;

	if (rc != ST_OK)
		return rc;
	if (EVP_EncryptFinal_ex(e->c, e->chunk, &k) != 1 ||
		EVP_CIPHER_CTX_ctrl(e->c, EVP_CTRL_AEAD_GET_TAG, TAG, tag) != 1)
		xmemory_gone();
	buf_clear(&e->out);
	ber_finish(&e->out, tag);
	return e->base.give(e->base.ctx, e->out.p, e->out.n, err);
}

static void cms_key(const struct encryptor *base, struct identities *i)
{
	memcpy(identities_new(i, ID_CMS_KEY)->secret,
		((const struct cms_encryptor *)base)->key, CRYPT_KEY);
}

static void cms_close(struct encryptor *base)
{
	struct cms_encryptor *e = (struct cms_encryptor *)base;

	EVP_CIPHER_CTX_free(e->c);
	buf_free(&e->head);
	buf_free(&e->out);
	wipe_free(e, sizeof(*e));
}

enum status cms_encryptor(
	struct encryptor **out, const struct recipients *r, struct err *err)
{
	static const struct encryptor_ops ops = { cms_write, cms_end, cms_key,
		cms_close };
	struct cms_encryptor *e = xcalloc(1, sizeof(*e));
	struct cms_frame f = { 0 };
	enum status rc;

	e->base.ops = &ops;
	buf_init(&e->head, 2 * KEY_FILE_MAX);
	buf_init(&e->out, 2 * CHUNK);
	rc = cms_wrap(&f, e->key, r, err);
	if (rc == ST_OK) {
		e->c = gcm(e->key, f.nonce, 1);
		ber_begin(&e->head, &f);
		*out = &e->base;
	} else {
		cms_close(&e->base);
	}
	free(f.infos);
	return rc;
}

/* ---- decrypting, into a file that nobody sees ---- */

struct decryption {
	struct cms_frame f;
	const struct identities *i;
	EVP_CIPHER_CTX *c; /* NULL until the content begins */
	int fd;
	struct veil *v;
	uint64_t size;
	unsigned char plain[CHUNK];
};

static enum status find_key(
	struct decryption *d, unsigned char key[CRYPT_KEY], struct err *err)
{
	enum status rc = ST_END;
	size_t k;

	for (k = 0; rc == ST_END && k < d->i->n; k++) {
		const struct identity *id = &d->i->v[k];

		if (id->kind == ID_PKEY)
			rc = cms_unwrap(key, &d->f, id->pkey, err);
		if (id->kind != ID_CMS_KEY)
			continue;
		memcpy(key, id->secret, CRYPT_KEY);
		rc = ST_OK;
	}
	if (rc == ST_END)
		rc = err_set(err, ST_DENIED, EX_NOPERM,
			"none of the identities given opens it: it is for the owners of "
			"other certificates; name the right private key with --identity");
	return rc;
}

/* What stands before the content has been read when the first piece of it comes. */
static enum status begin(struct decryption *d, struct err *err)
{
	unsigned char key[CRYPT_KEY];
	enum status rc = find_key(d, key, err);

	if (rc == ST_OK)
		d->c = gcm(key, d->f.nonce, 0);
	OPENSSL_cleanse(key, sizeof(key));
	return rc;
}

static enum status take(void *ctx, const void *p, size_t n, struct err *err)
{
	struct decryption *d = ctx;
	enum status rc = d->c ? ST_OK : begin(d, err);
	int k;

	if (rc != ST_OK)
		return rc;
	if (EVP_DecryptUpdate(d->c, d->plain, &k, p, (int)n) != 1)
		return err_set(err, ST_DENIED, EX_DATAERR, "more bytes than GCM takes");
	veil_apply(d->v, d->size, d->plain, d->plain, n);
	d->size += n;
	return fs_write(d->fd, d->plain, n, err);
}

static enum status check_tag(
	struct decryption *d, unsigned char tag[TAG], struct err *err)
{
	unsigned char none[TAG];
	enum status rc = d->c ? ST_OK : begin(d, err);
	int k;

	if (rc != ST_OK)
		return rc;
	if (EVP_CIPHER_CTX_ctrl(d->c, EVP_CTRL_AEAD_SET_TAG, TAG, tag) == 1 &&
		EVP_DecryptFinal_ex(d->c, none, &k) == 1)
		return ST_OK;
	openssl_reason();
	return err_set(err, ST_DENIED, EX_DATAERR,
		"it is damaged, or was changed: its tag is wrong, and nothing of it can be "
		"believed");
}

enum status cms_bytes(struct bytes **out, int fd, const struct identities *i,
	int tmpdir, struct err *err)
{
	struct decryption *d = xcalloc(1, sizeof(*d));
	unsigned char tag[TAG];
	enum status rc;

	d->i = i;
	d->fd = -1;
	rc = veil_open(&d->v, err);
	if (rc == ST_OK)
		rc = fs_tmpfile(&d->fd, tmpdir, err);
	if (rc == ST_OK)
		rc = ber_read(&d->f, fd, take, d, tag, err);
	if (rc == ST_OK)
		rc = check_tag(d, tag, err);
	if (rc == ST_OK) {
		veiled_bytes(out, d->fd, d->v, d->size);
		d->fd = -1;
		d->v = NULL;
	}
	EVP_CIPHER_CTX_free(d->c);
	veil_close(&d->v);
	free(d->f.infos);
	if (d->fd >= 0)
		close(d->fd);
	wipe_free(d, sizeof(*d));
	return rc;
}
