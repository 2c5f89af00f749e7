/* check.c: what was read back at the sinks. */
#include "own.h"

#include <stdlib.h>
#include <string.h>

enum status journal_verified(struct journal *j, int64_t id, unsigned sink,
	const struct place *at, int64_t now, struct err *err)
{
	enum status rc;
	int rows;

	rc = query_change(j, Q_VERIFIED,
		WITH(INT((uint64_t)id), INT(sink), INT(at->generation), INT(at->number),
			INT((uint64_t)now)),
		&rows, err);
	if (rc == ST_OK && rows)
		folder_stored(j, id, sink, at);
	return rc == ST_OK && rows == 0 ? ST_END : rc;
}

enum status journal_doubtful(
	struct journal *j, int64_t id, unsigned sink, int64_t now, struct err *err)
{
	return query_change(j, Q_DOUBTFUL,
		WITH(INT((uint64_t)id), INT(sink), INT((uint64_t)now)), NULL, err);
}

enum status journal_next_doubt(
	struct journal *j, unsigned sink, int64_t *id, char **folder, struct err *err)
{
	enum query q = Q_NEXT_DOUBT;
	enum status rc = query_row(j, q, WITH(INT(sink), INT((uint64_t)*id)), err);

	if (rc != ST_OK)
		return rc;
	*id = col_int(j, q, 0);
	*folder = xstrdup(col_text(j, q, 1));
	query_done(j, q);
	return ST_OK;
}

static void read_placed(struct journal *j, enum query q, struct journal_placed *out)
{
	const void *wire;
	size_t n;

	out->id = col_int(j, q, 0);
	out->at = (struct place){ (uint64_t)col_int(j, q, 2),
		(uint64_t)col_int(j, q, 3) };
	out->verified = col_int(j, q, 4) == PLACE_VERIFIED;
	wire = col_blob(j, q, 5, &n);
	out->has_wire = wire && n == DIGEST;
	if (out->has_wire)
		memcpy(out->wire, wire, DIGEST);
}

/* A page ends where its folder or generation does. */
static bool fits(struct journal *j, enum query q, const struct journal_page *p)
{
	return p->n == 0 ||
		(p->n < JOURNAL_PAGE && p->folder_id == col_int(j, q, 1) &&
			p->generation == (uint64_t)col_int(j, q, 2));
}

static void add(struct journal *j, enum query q, struct journal_page *p)
{
	struct journal_placed *v = &p->v[p->n];

	read_placed(j, q, v);
	if (p->n++ == 0) {
		free(p->folder);
		p->folder = xstrdup(col_text(j, q, 6));
		p->folder_id = col_int(j, q, 1);
		p->generation = v->at.generation;
	}
	p->after[0] = (int64_t)v->at.generation;
	p->after[1] = p->unknown ? v->id : (int64_t)v->at.number;
}

enum status journal_page(
	struct journal *j, unsigned sink, struct journal_page *p, struct err *err)
{
	enum query q = p->unknown ? Q_PLACED_UNKNOWN : Q_PLACED;
	enum status rc;

	p->n = 0;
	rc = query_row(j, q,
		WITH(INT(sink), INT(p->again ? PLACE_VERIFIED : PLACE_STORED),
			INT((uint64_t)p->folder_id), INT((uint64_t)p->after[0]),
			INT((uint64_t)p->after[1]), INT(JOURNAL_PAGE)),
		err);
	while (rc == ST_OK && fits(j, q, p)) {
		add(j, q, p);
		rc = query_next(j, q, err);
	}
	if (rc == ST_OK) /* the rest is another page's */
		query_done(j, q);
	if (rc < 0)
		return rc;
	return p->n ? ST_OK : ST_END;
}

enum status journal_stored_at(struct journal *j, int64_t id, unsigned sinks,
	int64_t unknown, int64_t *at, struct err *err)
{
	enum query q = Q_STORED_AT;
	int64_t n;
	enum status rc = query_row(
		j, q, WITH(INT((uint64_t)id), INT(sinks), INT((uint64_t)unknown)), err);

	if (rc != ST_OK)
		return rc;
	n = col_int(j, q, 0);
	*at = col_int(j, q, 1);
	query_done(j, q);
	return n == __builtin_popcount(sinks) ? ST_OK : ST_END;
}

enum status journal_newest_place(
	struct journal *j, unsigned sink, uint64_t *number, struct err *err)
{
	enum query q = Q_NEWEST_PLACE;
	enum status rc = query_row(j, q, WITH(INT(sink)), err);

	if (rc != ST_OK)
		return rc;
	*number = (uint64_t)col_int(j, q, 0);
	query_done(j, q);
	return ST_OK;
}
