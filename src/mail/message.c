/* message.c: a message is stored and judged as it comes in. */
#include <popferry/mail.h>
#include <popferry/mem.h>

#include "header.h"
#include "store.h"

#include <stdlib.h>
#include <string.h>

struct message_maker {
	struct spool *sp;
	struct body *body;
	struct facts_maker *facts;
	bool partly; /* only `first` bytes behind the header are kept */
	size_t first;
	uint64_t came;  /* bytes */
	enum status rc; /* of the store, kept for message_end() */
	struct err err;
};

void message_begin(struct message_maker **out, struct spool *sp)
{
	struct message_maker *mk = spool_swap(sp, NULL);

	if (!mk) {
		mk = xcalloc(1, sizeof(*mk));
		mk->sp = sp;
		facts_begin(&mk->facts);
	}
	body_open(&mk->body, sp);
	*out = mk;
}

void message_expect(struct message_maker *mk, uint64_t size)
{
	body_expect(mk->body, size);
}

void message_keep_first(struct message_maker *mk, size_t first)
{
	mk->partly = true;
	mk->first = first;
}

/* Of the next n bytes. */
static size_t to_keep(const struct message_maker *mk, size_t n)
{
	uint64_t has = body_size(mk->body), most;
	size_t header;

	if (!mk->partly || !facts_header(mk->facts, &header))
		return n;
	most = header + mk->first;
	if (has >= most)
		return 0;
	return n < most - has ? n : (size_t)(most - has);
}

void message_put(void *maker, const char *p, size_t n)
{
	struct message_maker *mk = maker;
	size_t keep;

	mk->came += n;
	if (mk->rc != ST_OK)
		return;
	facts_put(mk->facts, p, n);
	keep = to_keep(mk, n);
	if (keep < n)
		body_expect(mk->body, body_size(mk->body) + keep);
	mk->rc = body_write(mk->body, p, keep, &mk->err);
}

void maker_free(struct message_maker *mk)
{
	if (!mk)
		return;
	facts_end(&mk->facts, NULL);
	free(mk);
}

/* It is ready for the next message, which may find it in the spool. */
static void end(struct message_maker **mk)
{
	struct message_maker *m = *mk;

	body_free(&m->body);
	m->partly = false;
	m->came = 0;
	m->rc = ST_OK;
	maker_free(spool_swap(m->sp, m));
	*mk = NULL;
}

enum status message_end(
	struct message_maker **mk, struct message **out, struct err *err)
{
	enum status rc = (*mk)->rc;
	struct message *m;

	if (rc == ST_OK)
		rc = body_seal((*mk)->body, &(*mk)->err);
	if (rc == ST_OK) {
		m = xcalloc(1, sizeof(*m));
		m->body = (*mk)->body;
		(*mk)->body = NULL;
		facts_next((*mk)->facts, &m->facts);
		*out = m;
	} else {
		facts_next((*mk)->facts, NULL);
		if (err)
			*err = (*mk)->err;
	}
	end(mk);
	return rc;
}

void message_drop(struct message_maker **mk)
{
	if (!*mk)
		return;
	facts_next((*mk)->facts, NULL);
	end(mk);
}

void message_shed(struct message *m)
{
	body_free(&m->body);
}

void message_free(struct message **m)
{
	if (!*m)
		return;
	body_free(&(*m)->body);
	facts_release(&(*m)->facts);
	free(*m);
	*m = NULL;
}

bool message_sha256(const struct message_maker *mk, unsigned char out[DIGEST])
{
	if (mk->rc == ST_OK)
		facts_sha256(mk->facts, out);
	return mk->rc == ST_OK;
}

uint64_t message_came(const struct message_maker *mk)
{
	return mk->came;
}

/* The header block; *copy is to be freed. False when it cannot be read. */
static bool read_header(const struct message *m, const char **p, char **copy)
{
	size_t want = m->facts.header_size, got = 0, n;
	const char *piece;

	*copy = NULL;
	if (body_read(m->body, 0, NULL, 0, p, &n, NULL) == ST_OK && n >= want)
		return true;
	*copy = xmalloc(want);
	*p = *copy;
	while (got < want) {
		if (body_read(m->body, got, *copy + got, want - got, &piece, &n,
			    NULL) != ST_OK ||
			n == 0)
			return false;
		if (n > want - got)
			n = want - got;
		if (piece != *copy + got)
			memcpy(*copy + got, piece, n);
		got += n;
	}
	return true;
}

bool message_field(
	const struct message *m, const char *name, unsigned n, struct buf *out)
{
	struct header h;
	struct item it;
	struct buf value = BUF_INIT(FACT_MAX);
	size_t name_n = strlen(name);
	const char *p;
	char *copy;
	bool found = false;

	if (!read_header(m, &p, &copy))
		goto out;
	header_begin(&h, p, m->facts.header_size, false);
	while (!found && header_next(&h, &it))
		if (it.kind == ITEM_FIELD && item_is(&it, name, name_n))
			found = n-- == 0;
	if (found) {
		field_unfold(it.value, it.value_n, &value);
		found = buf_add(out, value.p, value.n);
	}
out:
	buf_free(&value);
	free(copy);
	return found;
}
