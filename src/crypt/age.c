/*
 * age.c: the payload of age files: chunks of 64 KiB, each authenticated with its
 * number.
 *
 * The last chunk is sealed as the last one. So a file that was cut off is noticed, and
 * the size of one whose last chunk is right is the size it was given.
 */
#include "own.h"

#include <popferry/fs.h>
#include <popferry/mem.h>

#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAYLOAD_NONCE = 16, FIRST_LOOK = 16 * 1024 };

static void chunk_nonce(unsigned char out[NONCE], uint64_t no, bool last)
{
	size_t i;

	memset(out, 0, NONCE);
	for (i = 0; i < 8; i++)
		out[NONCE - 2 - i] = (unsigned char)(no >> 8 * i);
	out[NONCE - 1] = last;
}

/* The key of the chunks, which is kept for a twin, and its cipher. */
static enum status payload_cipher(EVP_CIPHER_CTX **out, unsigned char k[CRYPT_KEY],
	const unsigned char key[FILE_KEY], const unsigned char nonce[PAYLOAD_NONCE],
	struct err *err)
{
	if (!hkdf(k, key, FILE_KEY, nonce, PAYLOAD_NONCE, "payload"))
		return err_set(err, ST_FATAL, EX_SOFTWARE, "OpenSSL has no HKDF: %s",
			openssl_reason());
	return aead_new(out, AEAD_CHACHA, k, err);
}

/* ---- writing ---- */

struct age_encryptor {
	struct encryptor base;
	unsigned char key[FILE_KEY], payload[CRYPT_KEY];
	EVP_CIPHER_CTX *c;
	struct buf head; /* until it is given */
	uint64_t no;
	size_t n; /* waiting in chunk */
	unsigned char chunk[CHUNK], out[SEALED_CHUNK];
};

static enum status give_chunk(struct age_encryptor *a, bool last, struct err *err)
{
	unsigned char nonce[NONCE];
	enum status rc = ST_OK;

	if (a->head.n)
		rc = a->base.give(a->base.ctx, a->head.p, a->head.n, err);
	buf_clear(&a->head);
	if (rc != ST_OK)
		return rc;
	chunk_nonce(nonce, a->no++, last);
	aead_seal(a->c, nonce, NULL, 0, a->chunk, a->n, a->out);
	rc = a->base.give(a->base.ctx, a->out, a->n + TAG, err);
	a->n = 0;
	return rc;
}

static enum status age_write(
	struct encryptor *e, const void *d, size_t n, struct err *err)
{
	struct age_encryptor *a = (struct age_encryptor *)e;
	const char *p = d;
	enum status rc = ST_OK;

	while (rc == ST_OK && n) {
		size_t k = CHUNK - a->n;

		/* A full one may be the last: it goes when more has come. */
		if (k == 0) {
			rc = give_chunk(a, false, err);
			continue;
		}
		if (k > n)
			k = n;
		memcpy(a->chunk + a->n, p, k);
		a->n += k;
		p += k;
		n -= k;
	}
	return rc;
}

static enum status age_end(struct encryptor *e, struct err *err)
{
	return give_chunk((struct age_encryptor *)e, true, err);
}

static void age_key(const struct encryptor *e, struct identities *i)
{
	memcpy(identities_new(i, ID_AGE_KEY)->secret,
		((const struct age_encryptor *)e)->key, FILE_KEY);
}

static void age_close(struct encryptor *e)
{
	struct age_encryptor *a = (struct age_encryptor *)e;

	EVP_CIPHER_CTX_free(a->c);
	buf_free(&a->head);
	wipe_free(a, sizeof(*a));
}

enum status age_encryptor(
	struct encryptor **out, const struct recipients *r, struct err *err)
{
	static const struct encryptor_ops ops = { age_write, age_end, age_key,
		age_close };
	struct age_encryptor *a = xcalloc(1, sizeof(*a));
	unsigned char nonce[PAYLOAD_NONCE];
	enum status rc = random_bytes(a->key, sizeof(a->key), err);

	a->base.ops = &ops;
	buf_init(&a->head, AGE_HEADER_MAX);
	if (rc == ST_OK)
		rc = random_bytes(nonce, sizeof(nonce), err);
	if (rc == ST_OK)
		rc = age_wrap(&a->head, a->key, r, err);
	if (rc == ST_OK)
		rc = payload_cipher(&a->c, a->payload, a->key, nonce, err);
	if (rc != ST_OK) {
		age_close(&a->base);
		return rc;
	}
	buf_add(&a->head, nonce, sizeof(nonce));
	*out = &a->base;
	return ST_OK;
}

/* ---- opening ---- */

static enum status damaged(struct err *err, const char *what)
{
	return err_set(err, ST_DENIED, EX_DATAERR, "%s", what);
}

/* The header in the first n bytes, and the cipher of what follows it. */
static enum status open_head(EVP_CIPHER_CTX **c, unsigned char payload[CRYPT_KEY],
	size_t *head_n, const char *p, size_t n, const struct identities *i,
	struct err *err)
{
	unsigned char key[FILE_KEY];
	struct age_head h;
	enum status rc = age_head_parse(&h, p, n, err);

	if (rc != ST_OK)
		return rc;
	/* Its nonce belongs to it. */
	if (n - h.size < PAYLOAD_NONCE) {
		age_head_release(&h);
		return ST_END;
	}
	rc = age_unwrap(key, &h, p, i, err);
	if (rc == ST_OK)
		rc = payload_cipher(
			c, payload, key, (const unsigned char *)p + h.size, err);
	*head_n = h.size + PAYLOAD_NONCE;
	OPENSSL_cleanse(key, sizeof(key));
	age_head_release(&h);
	return rc;
}

/* ---- reading at any place ---- */

struct age_bytes {
	struct bytes base;
	EVP_CIPHER_CTX *c;
	unsigned char payload[CRYPT_KEY];
	uint64_t at;       /* of the first chunk in the file */
	uint64_t chunks;   /* and how many there are */
	uint64_t file_end; /* of the last */
	uint64_t have;     /* the one in plain; chunks: none */
	bool cut;          /* which one was the last is not known */
	size_t plain_n;
	unsigned char plain[CHUNK], in[SEALED_CHUNK];
};

static bool open_sealed(struct age_bytes *a, uint64_t no, bool last, size_t n)
{
	unsigned char nonce[NONCE];

	chunk_nonce(nonce, no, last);
	return aead_unseal(a->c, nonce, NULL, 0, a->in, n - TAG, a->plain);
}

static enum status load(struct age_bytes *a, uint64_t no, struct err *err)
{
	uint64_t at = a->at + no * SEALED_CHUNK, left = a->file_end - at;
	size_t n = left < SEALED_CHUNK ? (size_t)left : SEALED_CHUNK;
	enum status rc;

	if (a->have == no)
		return ST_OK;
	a->have = a->chunks;
	rc = read_at(a->base.fd, a->in, n, at, err);
	if (rc != ST_OK)
		return rc;
	if (!open_sealed(a, no, no + 1 == a->chunks, n) &&
		!(a->cut && open_sealed(a, no, no + 1 != a->chunks, n)))
		return err_set(err, ST_DENIED, EX_DATAERR,
			"bytes %" PRIu64 " to %" PRIu64
			" are damaged%s: they are not what was encrypted",
			at, at + n - 1,
			no + 1 == a->chunks ? ", or the file was cut off" : "");
	a->have = no;
	a->plain_n = n - TAG;
	return ST_OK;
}

static enum status age_read(
	struct bytes *b, void *d, size_t n, uint64_t off, struct err *err)
{
	struct age_bytes *a = (struct age_bytes *)b;
	enum status rc = ST_OK;
	char *p = d;

	while (rc == ST_OK && n) {
		size_t in = (size_t)(off % CHUNK), k;

		rc = load(a, off / CHUNK, err);
		if (rc != ST_OK)
			break;
		k = a->plain_n - in < n ? a->plain_n - in : n;
		memcpy(p, a->plain + in, k);
		p += k;
		off += k;
		n -= k;
	}
	return rc;
}

static void age_bytes_close(struct bytes *b)
{
	struct age_bytes *a = (struct age_bytes *)b;

	EVP_CIPHER_CTX_free(a->c);
	wipe_free(a, sizeof(*a));
}

static enum status age_twin(struct bytes **out, const struct bytes *b, struct err *err)
{
	struct age_bytes *t = xmalloc(sizeof(*t));
	enum status rc;

	memcpy(t, b, sizeof(*t));
	t->base.owned = false;
	t->c = NULL;
	rc = aead_new(&t->c, AEAD_CHACHA, t->payload, err);
	if (rc == ST_OK)
		*out = &t->base;
	else
		age_bytes_close(&t->base);
	return rc;
}

static enum status look_at_head(
	struct age_bytes *a, const struct identities *i, struct err *err)
{
	uint64_t size = a->file_end;
	size_t n = FIRST_LOOK, head_n = 0;
	char *p = NULL;
	enum status rc = ST_END;

	while (rc == ST_END) {
		if (n > size)
			n = (size_t)size;
		p = xrealloc(p, n);
		rc = read_at(a->base.fd, p, n, 0, err);
		if (rc == ST_OK)
			rc = open_head(&a->c, a->payload, &head_n, p, n, i, err);
		if (rc == ST_END && n == size)
			rc = damaged(err, "it was cut off in its header");
		n *= 4;
	}
	free(p);
	a->at = head_n;
	return rc;
}

/* How many chunks there are, and how long the last one is. */
static enum status look_at_end(struct age_bytes *a, struct err *err)
{
	uint64_t payload = a->file_end - a->at, rest = payload % SEALED_CHUNK;

	/* Too little of it to be read. */
	if (a->cut && payload > SEALED_CHUNK && rest <= TAG) {
		a->file_end -= rest;
		rest = 0;
	}
	a->chunks = (a->file_end - a->at) / SEALED_CHUNK + (rest != 0);
	a->have = a->chunks;
	/* Only an empty file has a chunk without bytes. */
	if (payload < TAG || (rest && rest < TAG) || (rest == TAG && a->chunks > 1))
		return damaged(err,
			"the file is damaged: it was cut off, or something was added at "
			"its end");
	return ST_OK;
}

/* Of a last chunk that cannot be read the size is what it would have. */
static enum status take_size(struct age_bytes *a, struct err *err)
{
	uint64_t at = a->at + (a->chunks - 1) * SEALED_CHUNK;
	struct err why = ERR_INIT;
	enum status rc = load(a, a->chunks - 1, &why);

	if (rc == ST_DENIED && a->cut)
		a->plain_n = (size_t)(a->file_end - at) - TAG;
	else if (rc != ST_OK)
		return err_set(err, rc, why.exit, "%s", why.text);
	a->base.size = (a->chunks - 1) * CHUNK + a->plain_n;
	return ST_OK;
}

enum status age_bytes(struct bytes **out, int fd, bool owned, bool cut,
	const struct identities *i, struct err *err)
{
	static const struct bytes_ops ops = { age_read, age_twin, age_bytes_close };
	struct age_bytes *a = xcalloc(1, sizeof(*a));
	enum status rc;

	a->base = (struct bytes){ &ops, 0, fd, owned };
	a->cut = cut;
	rc = file_size(fd, &a->file_end, err);
	if (rc == ST_OK)
		rc = look_at_head(a, i, err);
	if (rc == ST_OK)
		rc = look_at_end(a, err);
	if (rc == ST_OK)
		rc = take_size(a, err);
	if (rc != ST_OK) {
		age_bytes_close(&a->base);
		return rc;
	}
	*out = &a->base;
	return ST_OK;
}

/* ---- reading in order ---- */

struct stream {
	int fd;
	char *p; /* cap bytes */
	size_t n, cap;
	bool end;
};

/* Until there are cap bytes, or no more. */
static enum status fill(struct stream *s, size_t cap, struct err *err)
{
	if (s->cap < cap) {
		s->p = xrealloc(s->p, cap);
		s->cap = cap;
	}
	while (!s->end && s->n < cap) {
		ssize_t k = read(s->fd, s->p + s->n, cap - s->n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return err_sys(err, ST_FATAL, "read");
		s->end = k == 0;
		s->n += (size_t)k;
	}
	return ST_OK;
}

static void drop(struct stream *s, size_t n)
{
	s->n -= n;
	memmove(s->p, s->p + n, s->n);
}

static enum status stream_head(EVP_CIPHER_CTX **c, struct stream *s,
	const struct identities *i, struct err *err)
{
	unsigned char payload[CRYPT_KEY];
	size_t cap = FIRST_LOOK, head_n = 0;
	enum status rc = ST_END;

	while (rc == ST_END) {
		rc = fill(s, cap, err);
		if (rc == ST_OK)
			rc = open_head(c, payload, &head_n, s->p, s->n, i, err);
		if (rc == ST_END && s->end)
			rc = damaged(err, "it was cut off in its header");
		cap *= 4;
	}
	OPENSSL_cleanse(payload, sizeof(payload));
	if (rc == ST_OK)
		drop(s, head_n);
	return rc;
}

static bool open_chunk(EVP_CIPHER_CTX *c, const struct stream *s, size_t n, uint64_t no,
	bool last, unsigned char plain[CHUNK])
{
	unsigned char nonce[NONCE];

	chunk_nonce(nonce, no, last);
	return n >= TAG && (n > TAG || no == 0) &&
		aead_unseal(c, nonce, NULL, 0, (unsigned char *)s->p, n - TAG, plain);
}

/* Whether one is the last is known when it is known that none comes after it. */
static enum status stream_chunk(EVP_CIPHER_CTX *c, struct stream *s, uint64_t no,
	unsigned char plain[CHUNK], size_t *n, struct err *err)
{
	enum status rc = fill(s, SEALED_CHUNK + 1, err);
	bool last = s->n <= SEALED_CHUNK;
	size_t sealed = last ? s->n : SEALED_CHUNK;

	*n = 0;
	if (rc != ST_OK)
		return rc;
	if (open_chunk(c, s, sealed, no, last, plain))
		rc = last ? ST_END : ST_OK;
	/* Good in itself, but the last one is not the last, or one is missing. */
	else if (sealed == SEALED_CHUNK && open_chunk(c, s, sealed, no, !last, plain))
		rc = damaged(err,
			"the file is damaged: it was cut off, or something was added at "
			"its end");
	else
		return damaged(err, "the file is damaged, or was cut off");
	drop(s, sealed);
	*n = sealed - TAG;
	return rc;
}

enum status age_stream(int fd, const struct identities *i, crypt_give *give, void *ctx,
	struct err *err)
{
	struct stream s = { .fd = fd };
	unsigned char *plain = xmalloc(CHUNK);
	EVP_CIPHER_CTX *c = NULL;
	uint64_t no = 0;
	size_t n;
	enum status rc = stream_head(&c, &s, i, err), given;

	while (rc == ST_OK) {
		rc = stream_chunk(c, &s, no++, plain, &n, err);
		given = n ? give(ctx, plain, n, err) : ST_OK;
		if (given != ST_OK)
			rc = given;
	}
	EVP_CIPHER_CTX_free(c);
	wipe_free(plain, CHUNK);
	free(s.p);
	return rc == ST_END ? ST_OK : rc;
}
