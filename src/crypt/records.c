/*
 * records.c: an encrypted file that is appended to.
 *
 *   file    16 bytes "popferry-open/1\n", 16 random bytes; records
 *   record  length of the plain text (4 bytes, big endian, 1 to 65 536), nonce (12 random
 *           bytes), ciphertext, tag (16 bytes)
 *
 * AES-256-GCM; its key is HKDF-SHA-256 of the segment's key, salted with the 16 bytes,
 * for the file's label. Associated data: the place of the record in the plain text (8
 * bytes, big endian) and its length: none can be moved, left out or shortened but the
 * last. Nonces are random, not counted: what was cut off is written again, otherwise.
 */
#include "own.h"

#include <popferry/fs.h>
#include <popferry/mem.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	MAGIC = 16,
	FILE_HEAD = MAGIC + 16,
	LENGTH = 4,
	RECORD_HEAD = LENGTH + NONCE,
	RECORD_MORE = RECORD_HEAD + TAG,
	PLACE = 8 + LENGTH,
};
static const char magic[MAGIC + 1] = "popferry-open/1\n";

/* Where one begins; the one behind the last tells where that ends. */
struct border {
	uint64_t plain, file;
};

/* What one thread works with. */
struct view {
	EVP_CIPHER_CTX *c;
	size_t have; /* the record in plain; SIZE_MAX: none */
	unsigned char plain[CHUNK], sealed[RECORD_MORE + CHUNK];
};

struct records {
	int fd;
	unsigned char key[CRYPT_KEY]; /* of this file */
	struct border *v;             /* n + 1 of them */
	size_t n, cap;
	struct view view;
};

static void big_endian(unsigned char *p, uint64_t v, size_t n)
{
	while (n--) {
		p[n] = (unsigned char)v;
		v >>= 8;
	}
}

static uint64_t of_big_endian(const unsigned char *p, size_t n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | *p++;
	return v;
}

static void place(unsigned char ad[PLACE], uint64_t at, size_t n)
{
	big_endian(ad, at, 8);
	big_endian(ad + 8, n, LENGTH);
}

static struct border *last(const struct records *r)
{
	return &r->v[r->n];
}

/* A record of n bytes behind the last. */
static void push(struct records *r, size_t n)
{
	struct border end = *last(r);

	if (r->n + 2 > r->cap) {
		r->cap = 2 * (r->n + 2);
		r->v = xreallocarray(r->v, r->cap, sizeof(*r->v));
	}
	r->v[++r->n] = (struct border){ end.plain + n, end.file + RECORD_MORE + n };
}

/* The record that begins at a place, or the last border; the first when before all. */
static size_t find(const struct records *r, uint64_t off)
{
	size_t from = 0, to = r->n;

	while (from < to) {
		size_t mid = (from + to) / 2;

		if (r->v[mid + 1].plain <= off)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

/* ---- opening ---- */

static enum status view_open(struct view *w, const struct records *r, struct err *err)
{
	w->have = SIZE_MAX;
	return aead_new(&w->c, AEAD_GCM, r->key, err);
}

static enum status derive(struct records *r, const unsigned char key[CRYPT_KEY],
	const unsigned char salt[FILE_HEAD - MAGIC], const char *label, struct err *err)
{
	if (!hkdf(r->key, key, CRYPT_KEY, salt, FILE_HEAD - MAGIC, label))
		return err_set(err, ST_FATAL, EX_SOFTWARE, "OpenSSL has no HKDF: %s",
			openssl_reason());
	return view_open(&r->view, r, err);
}

static enum status write_head(
	struct records *r, unsigned char head[FILE_HEAD], struct err *err)
{
	enum status rc = random_bytes(head + MAGIC, FILE_HEAD - MAGIC, err);

	memcpy(head, magic, MAGIC);
	if (rc == ST_OK && lseek(r->fd, 0, SEEK_SET) < 0)
		rc = err_sys(err, ST_FATAL, "seek");
	if (rc == ST_OK)
		rc = fs_write(r->fd, head, FILE_HEAD, err);
	return rc;
}

/* Nothing can stand behind a head that is not whole. */
static enum status get_head(struct records *r, unsigned char head[FILE_HEAD],
	uint64_t size, struct err *err)
{
	enum status rc;

	if (size < FILE_HEAD && (fcntl(r->fd, F_GETFL) & O_ACCMODE) == O_RDONLY)
		return ST_END;
	if (size < FILE_HEAD)
		return write_head(r, head, err);
	rc = read_at(r->fd, head, FILE_HEAD, 0, err);
	if (rc == ST_OK && memcmp(head, magic, MAGIC) != 0)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"it is not encrypted as an open segment should be");
	return rc;
}

/* Heads of records alone: their bytes are looked at when they are asked for. */
static enum status scan(struct records *r, uint64_t size, struct err *err)
{
	unsigned char p[LENGTH];
	enum status rc = ST_OK;

	while (rc == ST_OK && size - last(r)->file > RECORD_MORE) {
		uint64_t n;

		rc = read_at(r->fd, p, LENGTH, last(r)->file, err);
		if (rc != ST_OK)
			break;
		n = of_big_endian(p, LENGTH);
		if (n < 1 || n > CHUNK || size - last(r)->file < RECORD_MORE + n)
			break;
		push(r, (size_t)n);
	}
	return rc;
}

enum status records_open(struct records **out, int fd,
	const unsigned char key[CRYPT_KEY], const char *label, struct err *err)
{
	struct records *r = xcalloc(1, sizeof(*r));
	unsigned char head[FILE_HEAD];
	uint64_t size = 0;
	enum status rc = file_size(fd, &size, err);

	r->fd = fd;
	r->cap = 16;
	r->v = xcalloc(r->cap, sizeof(*r->v));
	r->v[0] = (struct border){ 0, FILE_HEAD };
	if (rc == ST_OK)
		rc = get_head(r, head, size, err);
	if (rc == ST_OK)
		rc = derive(r, key, head + MAGIC, label, err);
	if (rc == ST_OK && size > FILE_HEAD)
		rc = scan(r, size, err);
	if (rc != ST_OK)
		records_close(&r);
	*out = r;
	return rc;
}

void records_close(struct records **r)
{
	if (!*r)
		return;
	EVP_CIPHER_CTX_free((*r)->view.c);
	free((*r)->v);
	wipe_free(*r, sizeof(**r));
	*r = NULL;
}

uint64_t records_size(const struct records *r)
{
	return last(r)->plain;
}

uint64_t records_border(const struct records *r, uint64_t off)
{
	return r->v[find(r, off) + 1].plain;
}

/* ---- writing ---- */

static enum status add_one(struct records *r, const void *p, size_t n, struct err *err)
{
	unsigned char ad[PLACE], *out = r->view.sealed;
	enum status rc = random_bytes(out + LENGTH, NONCE, err);

	if (rc != ST_OK)
		return rc;
	big_endian(out, n, LENGTH);
	place(ad, last(r)->plain, n);
	aead_seal(r->view.c, out + LENGTH, ad, sizeof(ad), p, n, out + RECORD_HEAD);
	rc = fs_write(r->fd, out, RECORD_MORE + n, err);
	if (rc == ST_OK)
		push(r, n);
	return rc;
}

/* Also what a crash has left behind the last record goes. */
static enum status cut_file(struct records *r, struct err *err)
{
	int rc;

	do
		rc = ftruncate(r->fd, (off_t)last(r)->file);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? err_sys(err, ST_FATAL, "truncate") : ST_OK;
}

enum status records_add(struct records *r, const void *d, size_t n, struct err *err)
{
	const char *p = d;
	size_t before = r->n;
	enum status rc = ST_OK;

	if (lseek(r->fd, (off_t)last(r)->file, SEEK_SET) < 0)
		return err_sys(err, ST_FATAL, "seek");
	while (rc == ST_OK && n) {
		size_t k = n < CHUNK ? n : CHUNK;

		rc = add_one(r, p, k, err);
		p += k;
		n -= k;
	}
	if (rc != ST_OK) {
		r->n = before;
		cut_file(r, NULL); /* if not even that goes, it is a torn end */
	}
	return rc;
}

enum status records_cut(struct records *r, uint64_t size, struct err *err)
{
	size_t i = find(r, size);

	if (r->v[i].plain != size)
		return err_set(err, ST_DENIED, EX_DATAERR,
			size > records_size(r)
				? "of what was written, bytes %" PRIu64 " to %" PRIu64
				  " are missing or damaged"
				: "no record ends at byte %" PRIu64 ", of %" PRIu64,
			size > records_size(r) ? records_size(r) : size,
			size > records_size(r) ? size - 1 : records_size(r));
	r->n = i;
	r->view.have = SIZE_MAX;
	return cut_file(r, err);
}

/* ---- reading ---- */

/* ST_END: it is not what was written. */
static enum status load(
	const struct records *r, struct view *w, size_t i, struct err *err)
{
	size_t n = (size_t)(r->v[i + 1].plain - r->v[i].plain);
	unsigned char ad[PLACE];
	enum status rc;

	if (w->have == i)
		return ST_OK;
	w->have = SIZE_MAX;
	rc = read_at(r->fd, w->sealed, RECORD_MORE + n, r->v[i].file, err);
	if (rc != ST_OK)
		return rc;
	place(ad, r->v[i].plain, n);
	if (!aead_unseal(w->c, w->sealed + LENGTH, ad, sizeof(ad),
		    w->sealed + RECORD_HEAD, n, w->plain))
		return ST_END;
	w->have = i;
	return ST_OK;
}

static enum status read_whole(const struct records *r, struct view *w, void *d,
	size_t n, uint64_t off, struct err *err)
{
	enum status rc = ST_OK;
	char *p = d;

	while (rc == ST_OK && n) {
		size_t i = find(r, off), in = (size_t)(off - r->v[i].plain), k;

		rc = load(r, w, i, err);
		if (rc == ST_END)
			return err_set(err, ST_DENIED, EX_DATAERR,
				"bytes %" PRIu64 " to %" PRIu64
				" of the open segment are damaged, or the key is "
				"that of another",
				r->v[i].file, r->v[i + 1].file - 1);
		if (rc != ST_OK)
			break;
		k = (size_t)(r->v[i + 1].plain - off);
		if (k > n)
			k = n;
		memcpy(p, w->plain + in, k);
		p += k;
		off += k;
		n -= k;
	}
	return rc;
}

enum status records_read(struct records *r, void *p, size_t n, uint64_t off,
	size_t *got, struct err *err)
{
	uint64_t size = records_size(r), left = off < size ? size - off : 0;

	*got = n < left ? n : (size_t)left;
	return read_whole(r, &r->view, p, *got, off, err);
}

enum status records_sound(
	struct records *r, uint64_t off, uint64_t *end, struct err *err)
{
	size_t i = find(r, off);
	enum status rc = ST_OK;

	while (i < r->n && (rc = load(r, &r->view, i, err)) == ST_OK)
		i++;
	*end = r->v[i].plain;
	return rc == ST_END ? ST_OK : rc;
}

/* ---- as bytes ---- */

struct record_bytes {
	struct bytes base;
	const struct records *r;
	struct view view;
};

static enum status record_bytes_read(
	struct bytes *base, void *p, size_t n, uint64_t off, struct err *err)
{
	struct record_bytes *b = (struct record_bytes *)base;

	return read_whole(b->r, &b->view, p, n, off, err);
}

static void record_bytes_close(struct bytes *base)
{
	struct record_bytes *b = (struct record_bytes *)base;

	EVP_CIPHER_CTX_free(b->view.c);
	wipe_free(b, sizeof(*b));
}

static enum status record_bytes_twin(
	struct bytes **out, const struct bytes *base, struct err *err)
{
	return bytes_records(out, ((const struct record_bytes *)base)->r, err);
}

enum status bytes_records(struct bytes **out, const struct records *r, struct err *err)
{
	static const struct bytes_ops ops = { record_bytes_read, record_bytes_twin,
		record_bytes_close };
	struct record_bytes *b = xcalloc(1, sizeof(*b));
	enum status rc = view_open(&b->view, r, err);

	b->base = (struct bytes){ &ops, records_size(r), -1, false };
	b->r = r;
	if (rc == ST_OK)
		*out = &b->base;
	else
		record_bytes_close(&b->base);
	return rc;
}
