/*
 * ber.c: the one form of AuthEnvelopedData (RFC 5083, 5084) that is written, and read.
 *
 *   ContentInfo { authEnvelopedData, [0] {
 *     version 0, SET of RecipientInfo,
 *     { data, { aes256-GCM, { nonce, 16 } }, [0] content },
 *     tag } }
 *
 * Written with lengths left open (BER) and the content in pieces, as it comes. Read in
 * that form and in the one with all lengths (DER). There are no attributes: OpenSSL 3.0
 * does not read them.
 */
#include "own.h"

#include <popferry/mem.h>

#include <stdlib.h>
#include <string.h>

enum {
	SEQUENCE = 0x30,
	SET = 0x31,
	OID = 0x06,
	INTEGER = 0x02,
	OCTETS = 0x04,
	IN_0 = 0xa0, /* [0], of parts */
	IMPLICIT_0 = 0x80,
	KEKRI = 0xa2,
	OPEN = 0x80, /* a length that is not told */
	DEPTH = 6,
	INFOS_MAX = 1024 * 1024,
};

/* With their tag and length. */
static const unsigned char auth_enveloped[] = { OID, 11, 0x2a, 0x86, 0x48, 0x86, 0xf7,
	0x0d, 0x01, 0x09, 0x10, 0x01, 0x17 };
static const unsigned char enveloped[] = { OID, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d,
	0x01, 0x07, 0x03 };
static const unsigned char data[] = { OID, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01,
	0x07, 0x01 };
static const unsigned char aes_256_gcm[] = { OID, 9, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
	0x04, 0x01, 0x2e };
static const unsigned char version[] = { INTEGER, 1, 0 };
static const unsigned char tag_size[] = { INTEGER, 1, TAG };
static const unsigned char end_mark[] = { 0, 0 };

/* ---- writing ---- */

void ber_head(struct buf *b, unsigned char tag, size_t n)
{
	unsigned char p[2 + sizeof(n)] = { tag };
	size_t bytes = 0, i;

	if (n < 0x80) {
		p[1] = (unsigned char)n;
		buf_add(b, p, 2);
		return;
	}
	while (bytes < sizeof(n) && n >> 8 * bytes)
		bytes++;
	p[1] = (unsigned char)(0x80 | bytes);
	for (i = 0; i < bytes; i++)
		p[2 + i] = (unsigned char)(n >> 8 * (bytes - 1 - i));
	buf_add(b, p, 2 + bytes);
}

static void open_part(struct buf *b, unsigned char tag)
{
	buf_addc(b, (char)tag);
	buf_addc(b, (char)OPEN);
}

static void add_algorithm(struct buf *b, const struct cms_frame *f)
{
	const size_t inner = 2 + NONCE + sizeof(tag_size);

	ber_head(b, SEQUENCE, sizeof(aes_256_gcm) + 2 + inner);
	buf_add(b, aes_256_gcm, sizeof(aes_256_gcm));
	ber_head(b, SEQUENCE, inner);
	ber_head(b, OCTETS, NONCE);
	buf_add(b, f->nonce, NONCE);
	buf_add(b, tag_size, sizeof(tag_size));
}

void ber_begin(struct buf *b, const struct cms_frame *f)
{
	open_part(b, SEQUENCE);
	buf_add(b, auth_enveloped, sizeof(auth_enveloped));
	open_part(b, IN_0);
	open_part(b, SEQUENCE);
	buf_add(b, version, sizeof(version));
	ber_head(b, SET, f->infos_n);
	buf_add(b, f->infos, f->infos_n);
	open_part(b, SEQUENCE);
	buf_add(b, data, sizeof(data));
	add_algorithm(b, f);
	open_part(b, IN_0);
}

void ber_finish(struct buf *b, const unsigned char tag[TAG])
{
	int i;

	for (i = 0; i < 2; i++) /* the content, and what it is part of */
		buf_add(b, end_mark, sizeof(end_mark));
	ber_head(b, OCTETS, TAG);
	buf_add(b, tag, TAG);
	for (i = 0; i < 3; i++)
		buf_add(b, end_mark, sizeof(end_mark));
}

void ber_mini(struct buf *b, const struct cms_frame *f)
{
	static const unsigned char none[TAG];

	ber_begin(b, f);
	ber_finish(b, none);
}

/* ---- reading ---- */

struct part {
	bool open;
	uint64_t end; /* when it is not */
};

struct reader {
	int fd;
	uint64_t at, size;
	unsigned char win[CHUNK];
	uint64_t win_at;
	size_t win_n;
	struct part parts[DEPTH];
	size_t depth;
	struct err *err;
};

static enum status bad(struct reader *r, const char *what)
{
	return err_set(r->err, ST_DENIED, EX_DATAERR, "%s", what);
}

static enum status malformed(struct reader *r)
{
	return bad(r,
		"it is not CMS AuthEnvelopedData with AES-256-GCM as it was written, or "
		"was cut off");
}

/* n bytes, in place until the next call; n is CHUNK at most. */
static enum status take(struct reader *r, const unsigned char **p, size_t n)
{
	enum status rc;

	if (n > r->size - r->at)
		return malformed(r);
	if (r->at < r->win_at || r->at + n > r->win_at + r->win_n) {
		uint64_t left = r->size - r->at;

		r->win_n = left < sizeof(r->win) ? (size_t)left : sizeof(r->win);
		r->win_at = r->at;
		rc = read_at(r->fd, r->win, r->win_n, r->at, r->err);
		if (rc != ST_OK)
			return rc;
	}
	*p = r->win + (r->at - r->win_at);
	r->at += n;
	return ST_OK;
}

static enum status expect(struct reader *r, const unsigned char *what, size_t n)
{
	const unsigned char *p;
	enum status rc = take(r, &p, n);

	return rc == ST_OK && memcmp(p, what, n) != 0 ? malformed(r) : rc;
}

/* A tag, which must be this one, and a length; *open when it is not told. */
static enum status head(struct reader *r, unsigned char tag, uint64_t *n, bool *is_open)
{
	const unsigned char *p;
	enum status rc = take(r, &p, 2);
	size_t bytes;

	if (rc != ST_OK)
		return rc;
	if (p[0] != tag)
		return malformed(r);
	*is_open = p[1] == OPEN;
	*n = p[1];
	if (p[1] <= OPEN)
		return ST_OK;
	bytes = p[1] & 0x7f;
	*n = 0;
	if (bytes > 7)
		return malformed(r);
	rc = take(r, &p, bytes);
	while (rc == ST_OK && bytes--)
		*n = *n << 8 | *p++;
	return rc == ST_OK && *n > r->size - r->at ? malformed(r) : rc;
}

static enum status enter(struct reader *r, unsigned char tag)
{
	struct part *s = &r->parts[r->depth++];
	uint64_t n;
	enum status rc = head(r, tag, &n, &s->open);

	s->end = r->at + n;
	return rc;
}

static bool at_end(struct reader *r)
{
	const struct part *s = &r->parts[r->depth - 1];
	const unsigned char *p;
	bool end;

	if (!s->open)
		return r->at >= s->end;
	if (take(r, &p, sizeof(end_mark)) != ST_OK)
		return true;
	end = memcmp(p, end_mark, sizeof(end_mark)) == 0;
	r->at -= sizeof(end_mark);
	return end;
}

static enum status leave(struct reader *r)
{
	const struct part *s = &r->parts[--r->depth];

	if (s->open)
		return expect(r, end_mark, sizeof(end_mark));
	return r->at == s->end ? ST_OK : malformed(r);
}

/* A primitive of known size. */
static enum status octets(struct reader *r, unsigned char *out, size_t n)
{
	const unsigned char *p;
	uint64_t k;
	bool is_open;
	enum status rc = head(r, OCTETS, &k, &is_open);

	if (rc == ST_OK && (is_open || k != n))
		rc = malformed(r);
	if (rc == ST_OK)
		rc = take(r, &p, n);
	if (rc == ST_OK)
		memcpy(out, p, n);
	return rc;
}

static enum status read_type(struct reader *r)
{
	const unsigned char *p;
	enum status rc = take(r, &p, sizeof(enveloped));

	if (rc == ST_OK && memcmp(p, enveloped, sizeof(enveloped)) == 0)
		return bad(r,
			"it is CMS EnvelopedData: anybody could have changed it, nothing in "
			"it is authenticated; only AuthEnvelopedData is read");
	if (rc == ST_OK) {
		r->at -= sizeof(enveloped);
		rc = expect(r, auth_enveloped, sizeof(auth_enveloped));
	}
	return rc;
}

static enum status read_infos(struct reader *r, struct cms_frame *f)
{
	const unsigned char *p;
	bool is_open;
	uint64_t n;
	enum status rc = head(r, SET, &n, &is_open);
	size_t at = 0, k;

	if (rc == ST_OK && (is_open || n > INFOS_MAX))
		rc = malformed(r);
	if (rc != ST_OK)
		return rc;
	f->infos_n = (size_t)n;
	f->infos = xmalloc(f->infos_n);
	for (; rc == ST_OK && at < n; at += k) {
		k = n - at < CHUNK ? (size_t)(n - at) : CHUNK;
		rc = take(r, &p, k);
		if (rc == ST_OK)
			memcpy(f->infos + at, p, k);
	}
	return rc;
}

static enum status read_algorithm(struct reader *r, struct cms_frame *f)
{
	enum status rc = enter(r, SEQUENCE);

	if (rc == ST_OK)
		rc = expect(r, aes_256_gcm, sizeof(aes_256_gcm));
	if (rc == ST_OK)
		rc = enter(r, SEQUENCE);
	if (rc == ST_OK)
		rc = octets(r, f->nonce, NONCE);
	/* A shorter tag, which is what one gets who says nothing, is easier to
	 * forge. */
	if (rc == ST_OK)
		rc = expect(r, tag_size, sizeof(tag_size));
	if (rc == ST_OK)
		rc = leave(r);
	return rc == ST_OK ? leave(r) : rc;
}

static enum status give_piece(struct reader *r, uint64_t n, crypt_give *give, void *ctx)
{
	const unsigned char *p;
	enum status rc = ST_OK;

	while (rc == ST_OK && n) {
		size_t k = n < CHUNK ? (size_t)n : CHUNK;

		rc = take(r, &p, k);
		if (rc == ST_OK)
			rc = give(ctx, p, k, r->err);
		n -= k;
	}
	return rc;
}

static enum status read_content(struct reader *r, crypt_give *give, void *ctx)
{
	const unsigned char *p;
	enum status rc = take(r, &p, 1);
	bool is_open, whole = rc == ST_OK && *p == IMPLICIT_0;
	uint64_t n;

	r->at--;
	if (rc == ST_OK && whole) {
		rc = head(r, IMPLICIT_0, &n, &is_open);
		if (rc == ST_OK)
			rc = is_open ? malformed(r) : give_piece(r, n, give, ctx);
		return rc;
	}
	rc = enter(r, IN_0);
	while (rc == ST_OK && !at_end(r)) {
		rc = head(r, OCTETS, &n, &is_open);
		if (rc == ST_OK)
			rc = is_open ? malformed(r) : give_piece(r, n, give, ctx);
	}
	return rc == ST_OK ? leave(r) : rc;
}

static enum status read_all(struct reader *r, struct cms_frame *f, crypt_give *give,
	void *ctx, unsigned char tag[TAG])
{
	enum status rc = enter(r, SEQUENCE);
	int i;

	if (rc == ST_OK)
		rc = read_type(r);
	if (rc == ST_OK)
		rc = enter(r, IN_0);
	if (rc == ST_OK)
		rc = enter(r, SEQUENCE);
	if (rc == ST_OK)
		rc = expect(r, version, sizeof(version));
	if (rc == ST_OK)
		rc = read_infos(r, f);
	if (rc == ST_OK)
		rc = enter(r, SEQUENCE);
	if (rc == ST_OK)
		rc = expect(r, data, sizeof(data));
	if (rc == ST_OK)
		rc = read_algorithm(r, f);
	if (rc == ST_OK)
		rc = read_content(r, give, ctx);
	if (rc == ST_OK)
		rc = leave(r);
	if (rc == ST_OK)
		rc = octets(r, tag, TAG);
	for (i = 0; rc == ST_OK && i < 3; i++)
		rc = leave(r);
	return rc == ST_OK && r->at != r->size ? malformed(r) : rc;
}

enum status ber_read(struct cms_frame *f, int fd, crypt_give *give, void *ctx,
	unsigned char tag[TAG], struct err *err)
{
	struct reader *r = xcalloc(1, sizeof(*r));
	enum status rc;

	r->fd = fd;
	r->err = err;
	rc = file_size(fd, &r->size, err);
	if (rc == ST_OK)
		rc = read_all(r, f, give, ctx, tag);
	free(r);
	return rc;
}

/* ---- what OpenSSL wrote ---- */

/* The next value in DER: its tag, and what is in it. False when it does not fit. */
static bool der_next(const unsigned char **p, const unsigned char *end,
	unsigned char *tag, const unsigned char **in, size_t *n)
{
	size_t bytes;

	if (end - *p < 2 || (*p)[1] == OPEN)
		return false;
	*tag = (*p)[0];
	*n = (*p)[1];
	*p += 2;
	if (*n > OPEN) {
		bytes = *n & 0x7f;
		if (bytes > 4 || (size_t)(end - *p) < bytes)
			return false;
		for (*n = 0; bytes--; ++*p)
			*n = *n << 8 | **p;
	}
	if ((size_t)(end - *p) < *n)
		return false;
	*in = *p;
	*p += *n;
	return true;
}

/* The value with this tag among those of p to end: it becomes p to end. */
static bool der_into(
	const unsigned char **p, const unsigned char **end, unsigned char tag)
{
	const unsigned char *in;
	unsigned char t;
	size_t n;

	while (der_next(p, *end, &t, &in, &n)) {
		if (t != tag)
			continue;
		*p = in;
		*end = in + n;
		return true;
	}
	return false;
}

/* KEKRecipientInfo ends with the wrapped key. */
static bool wrapped_key(
	unsigned char out[CRYPT_KEY + 8], const unsigned char *p, size_t n)
{
	const unsigned char *end = p + n;

	if (!der_into(&p, &end, OCTETS) || end - p != CRYPT_KEY + 8)
		return false;
	memcpy(out, p, CRYPT_KEY + 8);
	return true;
}

bool ber_infos(struct cms_frame *f, unsigned char wrapped[CRYPT_KEY + 8],
	const unsigned char *der, size_t n)
{
	const unsigned char *p = der, *end = der + n, *in, *from;
	unsigned char tag;
	bool found = false;
	size_t k;

	if (!der_into(&p, &end, SEQUENCE) || !der_into(&p, &end, IN_0) ||
		!der_into(&p, &end, SEQUENCE) || !der_into(&p, &end, SET))
		return false;
	f->infos = xmalloc((size_t)(end - p) + 1);
	f->infos_n = 0;
	for (from = p; der_next(&p, end, &tag, &in, &k); from = p) {
		if (tag == KEKRI) {
			found = wrapped_key(wrapped, in, k);
			continue;
		}
		memcpy(f->infos + f->infos_n, from, (size_t)(p - from));
		f->infos_n += (size_t)(p - from);
	}
	return found && p == end;
}
