/* dispose.c: who is chosen, what keeps them, and the rest segment by segment. */
#include "../erase/disposal.h"
#include "keeping.h"
#include "../read/reader.h"
#include "../form/statement.h"

#include <popferry/clock.h>
#include <popferry/mem.h>

#include <stdlib.h>
#include <string.h>

struct one {
	uint64_t seq;
	unsigned segment;
};

struct choosing {
	const struct archive_disposal *d;
	const struct archive_keeping *k;
	struct archive_disposed *out;
	const struct archive_reader *r;
	int64_t now;
	struct one *list;
	size_t n, cap;
	unsigned looked; /* the segment that sealed is of */
	bool sealed;
};

/* Of segments of 0.1.0 nothing but the whole file was sealed, and not even that. */
static bool has_tree(struct choosing *c, unsigned segment)
{
	struct statement s;

	if (c->looked != segment)
		c->sealed = statement_load(&s, c->r->dir, &c->r->policy, segment,
				    NULL) != ST_END;
	c->looked = segment;
	return c->sealed;
}

static void add(struct choosing *c, uint64_t seq, unsigned segment)
{
	if (c->n == c->cap) {
		c->cap = c->cap ? 2 * c->cap : 64;
		c->list = xreallocarray(c->list, c->cap, sizeof(*c->list));
	}
	c->list[c->n++] = (struct one){ seq, segment };
}

static enum status choose(void *ctx, const struct archive_row *row, struct err *err)
{
	const char *dash = strrchr(row->segment, '-');
	unsigned segment = dash ? (unsigned)strtoul(dash + 1, NULL, 10) : 0;
	struct choosing *c = ctx;
	struct archive_verdict v;

	(void)err;
	if (!c->d->chosen(c->d->ctx, row))
		return ST_OK;
	archive_judge(c->k, row, c->now, &v);
	if (c->d->due && v.fate != ARCHIVE_DUE)
		return ST_OK;
	if ((v.fate == ARCHIVE_FREE || v.fate == ARCHIVE_DUE) && !has_tree(c, segment))
		v.fate = ARCHIVE_FIXED;
	if (c->d->tell)
		c->d->tell(c->d->ctx, row, &v);
	if (v.fate == ARCHIVE_FREE || v.fate == ARCHIVE_DUE)
		add(c, row->seq, segment);
	else
		c->out->refused++;
	return ST_OK;
}

/* Each segment for itself: a record, and a new file. */
static enum status act(struct keeper *k, const struct choosing *c, struct err *err)
{
	uint64_t *seqs = xcalloc(c->n + 1, sizeof(*seqs));
	enum status rc = ST_OK;
	size_t i, n;

	for (i = 0; rc == ST_OK && i < c->n; i += n) {
		for (n = 0;
			i + n < c->n && c->list[i + n].segment == c->list[i].segment;
			n++)
			seqs[n] = c->list[i + n].seq;
		rc = disposal_run(k, c->list[i].segment, seqs, n, c->d->authority, err);
		if (rc == ST_OK) {
			c->out->gone += n;
			c->out->records++;
		}
	}
	free(seqs);
	return rc;
}

/* Only the archive's owner may keep others out for that. */
static enum status look(struct choosing *c, const char *path, struct archive_reader **r,
	struct archive_keeping **k, struct err *err)
{
	const struct archive_access access = { .identities = c->d->identities };
	enum status rc = archive_read_as(r, path, &access, err);

	if (rc == ST_OK)
		rc = archive_keeping_load(k, *r, c->d->words, err);
	c->k = *k;
	c->r = *r;
	return rc == ST_OK ? archive_each(*r, choose, c, err) : rc;
}

enum status archive_dispose(const char *path, const struct archive_disposal *d,
	struct archive_disposed *out, struct err *err)
{
	struct choosing c = { .d = d, .out = out, .now = clock_utc() };
	struct archive_keeping *k = NULL;
	struct archive_reader *r = NULL;
	struct keeper keeper;
	enum status rc = ST_OK;

	memset(out, 0, sizeof(*out));
	if (d->act)
		rc = keeper_open(&keeper, path, d->identities, err);
	if (rc < 0)
		return rc;
	if (!d->act && d->at)
		c.now = d->at;
	if (d->act)
		rc = keeper_writes(&keeper, path, err);
	if (rc == ST_OK)
		rc = look(&c, path, &r, &k, err);
	if (rc == ST_OK && d->act) {
		rc = act(&keeper, &c, err);
		if (rc != ST_OK)
			err_note(err, "archive %s", path);
	} else if (rc == ST_OK) {
		out->gone = c.n;
	}
	archive_keeping_free(&k);
	archive_done(&r);
	free(c.list);
	if (d->act)
		keeper_close(&keeper);
	return rc;
}
