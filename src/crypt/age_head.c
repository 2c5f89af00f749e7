/* age_head.c: the text that an age file begins with (C2SP age v1), to the letter. */
#include "own.h"

#include <popferry/mem.h>

#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 64, LINE_BYTES = COLUMNS / 4 * 3, LINE_MOST = 4096 };

static const char version[] = "age-encryption.org/v1";

struct reader {
	const char *all, *p, *end;
	struct err *err;
};

static enum status bad(struct reader *r, const char *what)
{
	return err_set(r->err, ST_DENIED, EX_DATAERR,
		"not a right age v1 header, at byte %zu: %s", (size_t)(r->p - r->all),
		what);
}

/* A line without its LF. */
static enum status line(struct reader *r, const char **s, size_t *n)
{
	size_t left = (size_t)(r->end - r->p), most = left;
	const char *lf;

	if (most > LINE_MOST)
		most = LINE_MOST;
	lf = memchr(r->p, '\n', most);
	if (!lf && left >= LINE_MOST)
		return bad(r, "a line is too long");
	if (!lf)
		return ST_END;
	*s = r->p;
	*n = (size_t)(lf - r->p);
	return ST_OK;
}

static void next_line(struct reader *r, size_t n)
{
	r->p += n + 1;
}

static bool starts(const char *s, size_t n, const char *with)
{
	size_t k = strlen(with);

	return n >= k && memcmp(s, with, k) == 0;
}

/* The words behind "-> ": of one or more visible characters, with one space between. */
static bool take_args(struct stanza *s, const char *p, size_t n)
{
	size_t i, from = 0;

	for (i = 0; i <= n; i++) {
		if (i < n && p[i] > ' ' && p[i] < 0x7f)
			continue;
		if ((i < n && p[i] != ' ') || i == from)
			return false;
		if (s->n < STANZA_ARGS) {
			s->args[s->n] = p + from;
			s->args_n[s->n] = i - from;
		}
		s->n++;
		from = i + 1;
	}
	return true;
}

/* Lines of 64 columns up to one that is shorter. */
static enum status take_body(struct reader *r, struct stanza *s)
{
	size_t cap = 0, n, k;
	enum status rc;
	const char *p;

	do {
		rc = line(r, &p, &n);
		if (rc != ST_OK)
			return rc;
		if (n > COLUMNS)
			return bad(r, "a line of a stanza is longer than 64 columns");
		if (cap - s->body_n < LINE_BYTES) {
			cap = 2 * cap + LINE_BYTES;
			s->body = xrealloc(s->body, cap);
		}
		if (!bare_base64(s->body + s->body_n, cap - s->body_n, &k, p, n))
			return bad(r, "a line of a stanza is not as base64 is written");
		s->body_n += k;
		next_line(r, n);
	} while (n == COLUMNS);
	return ST_OK;
}

static enum status take_stanza(
	struct reader *r, struct age_head *h, const char *p, size_t n)
{
	struct stanza *s;
	const char *fault;
	enum status rc;

	if (h->n == STANZAS_MAX)
		return bad(r, "too many recipients");
	if (h->n % 16 == 0)
		h->v = xreallocarray(h->v, h->n + 16, sizeof(*h->v));
	s = &h->v[h->n++];
	memset(s, 0, sizeof(*s));
	if (!take_args(s, p + 3, n - 3))
		return bad(r, "a stanza does not say what it is");
	next_line(r, n);
	rc = take_body(r, s);
	if (rc != ST_OK)
		return rc;
	fault = stanza_fault(s);
	return fault ? bad(r, fault) : ST_OK;
}

static enum status take_mac(
	struct reader *r, struct age_head *h, const char *p, size_t n)
{
	size_t k;

	h->mac_over = (size_t)(p - r->all) + 3;
	if (!starts(p, n, "--- ") ||
		!bare_base64(h->mac, sizeof(h->mac), &k, p + 4, n - 4) ||
		k != sizeof(h->mac))
		return bad(r, "the last line is no MAC");
	next_line(r, n);
	h->size = (size_t)(r->p - r->all);
	return ST_OK;
}

/* A passphrase must be alone: else who has another key could make others believe that
 * it came from who knows the passphrase. */
static enum status judge(struct reader *r, const struct age_head *h)
{
	size_t i;

	if (h->n == 0)
		return bad(r, "it is for nobody");
	for (i = 0; i < h->n; i++)
		if (stanza_is(&h->v[i], "scrypt") && h->n > 1)
			return bad(r, "it has a passphrase and other recipients");
	return ST_OK;
}

static enum status take_version(struct reader *r)
{
	size_t n = (size_t)(r->end - r->p), whole = sizeof(version) - 1;
	const char *p;
	enum status rc;

	if (memcmp(r->p, version, n < whole ? n : whole) != 0)
		return bad(r, "it is no age file of version 1");
	rc = line(r, &p, &n);
	if (rc == ST_OK && n != whole)
		rc = bad(r, "it is no age file of version 1");
	if (rc == ST_OK)
		next_line(r, n);
	return rc;
}

static enum status parse(struct reader *r, struct age_head *h)
{
	enum status rc = take_version(r);
	const char *p;
	size_t n;

	while (rc == ST_OK && (rc = line(r, &p, &n)) == ST_OK) {
		if (!starts(p, n, "-> ")) {
			rc = take_mac(r, h, p, n);
			return rc == ST_OK ? judge(r, h) : rc;
		}
		rc = take_stanza(r, h, p, n);
	}
	return rc;
}

enum status age_head_parse(struct age_head *h, const char *p, size_t n, struct err *err)
{
	struct reader r = { p, p, p + n, err };
	enum status rc;

	memset(h, 0, sizeof(*h));
	rc = parse(&r, h);
	if (rc == ST_END && n >= AGE_HEADER_MAX)
		rc = bad(&r, "the header is too long");
	if (rc != ST_OK)
		age_head_release(h);
	return rc;
}

void age_head_release(struct age_head *h)
{
	while (h->n)
		free(h->v[--h->n].body);
	free(h->v);
	memset(h, 0, sizeof(*h));
}

bool stanza_is(const struct stanza *s, const char *type)
{
	return s->args_n[0] == strlen(type) &&
		memcmp(s->args[0], type, s->args_n[0]) == 0;
}

void stanza_write(struct buf *b, const char *args, const void *body, size_t n)
{
	const unsigned char *p = body;

	buf_addf(b, "-> %s\n", args);
	for (; n >= LINE_BYTES; n -= LINE_BYTES, p += LINE_BYTES) {
		bare_base64_add(b, p, LINE_BYTES);
		buf_addc(b, '\n');
	}
	/* The last line is short, if need be empty. */
	bare_base64_add(b, p, n);
	buf_addc(b, '\n');
}
