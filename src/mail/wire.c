/* wire.c: the form of a message that IMAP servers take. */
#include <popferry/mail.h>

#include "sha.h"

#include <string.h>

void wire_begin(struct wire *w, const struct message *m)
{
	*w = (struct wire){ .m = m };
}

static bool as_it_is(const struct facts *f)
{
	return f->wire == f->size && !(f->anomalies & AN_NUL);
}

/* Converts n bytes into out, which has room for twice as many. */
static size_t convert(struct wire *w, char *out, const char *in, size_t n)
{
	const char *end = in + n, *nl;
	char *o = out, *nul;
	size_t k;

	while (in < end) {
		nl = memchr(in, '\n', (size_t)(end - in));
		k = (size_t)((nl ? nl : end) - in);
		/* They may overlap: the input can stand behind in the same memory. */
		memmove(o, in, k);
		o += k;
		if (k)
			w->last = o[-1];
		in += k;
		if (!nl)
			break;
		if (w->last != '\r')
			*o++ = '\r';
		*o++ = '\n';
		w->last = '\n';
		in++;
	}
	k = (size_t)(o - out);
	for (nul = out; (nul = memchr(nul, '\0', k - (size_t)(nul - out)));)
		*nul++ = '\x80';
	return k;
}

enum status wire_next(struct wire *w, char *out, size_t cap, const char **p, size_t *n,
	struct err *err)
{
	const char *in;
	size_t half = cap / 2, k;
	enum status rc;

	if (as_it_is(&w->m->facts)) {
		rc = body_read(w->m->body, w->off, out, cap, p, n, err);
		w->off += *n;
		return rc;
	}
	*p = out;
	*n = 0;
	rc = body_read(w->m->body, w->off, out + cap - half, half, &in, &k, err);
	if (rc != ST_OK)
		return rc;
	if (k > half)
		k = half;
	w->off += k;
	if (k) {
		*n = convert(w, out, in, k);
	} else if (!w->ended) {
		w->ended = true;
		if (w->last != '\n') {
			memcpy(out, "\r\n", 2);
			*n = 2;
		}
	}
	return ST_OK;
}

enum status wire_digest(
	const struct message *m, unsigned char out[DIGEST], struct err *err)
{
	char block[16 * 1024];
	struct wire w;
	struct sha s;
	const char *p;
	size_t n;
	enum status rc;

	if (as_it_is(&m->facts)) {
		memcpy(out, m->facts.sha256, DIGEST);
		return ST_OK;
	}
	sha_init(&s);
	wire_begin(&w, m);
	while ((rc = wire_next(&w, block, sizeof(block), &p, &n, err)) == ST_OK && n)
		sha_add(&s, p, n);
	sha_end(&s, out);
	return rc;
}
