/* walk.c: all messages in the order of the file: two scans side by side. */
#include "own.h"

struct walk {
	bool more;       /* places stands on a row */
	int64_t message; /* of that */
};

static enum status next_place(
	struct journal *j, struct walk *w, enum status rc, struct err *err)
{
	(void)err;
	w->more = rc == ST_OK;
	if (w->more)
		w->message = col_int(j, Q_WALK_PLACES, 0);
	return rc == ST_END ? ST_OK : rc;
}

/* Those of this message; the others before it have none that is asked for. */
static enum status add_places(
	struct journal *j, struct walk *w, struct journal_row *r, struct err *err)
{
	enum status rc = ST_OK;

	while (rc == ST_OK && w->more && w->message <= r->id) {
		int64_t state = col_int(j, Q_WALK_PLACES, 2);
		unsigned bit = 1u
			<< (col_int(j, Q_WALK_PLACES, 1) & (JOURNAL_SINKS - 1));

		if (w->message == r->id) {
			r->storing |= state == PLACE_STORING ? bit : 0;
			r->stored |= state >= PLACE_STORED ? bit : 0;
			r->verified |= state >= PLACE_VERIFIED ? bit : 0;
		}
		rc = next_place(j, w, query_next(j, Q_WALK_PLACES, err), err);
	}
	return rc;
}

static void read_row(struct journal *j, struct journal_row *r)
{
	*r = (struct journal_row){ .id = col_int(j, Q_WALK, 0),
		.state = (enum journal_state)col_int(j, Q_WALK, 1),
		.of = col_int(j, Q_WALK, 2),
		.listed_size = (uint64_t)col_int_or(j, Q_WALK, 3, -1),
		.size = (uint64_t)col_int_or(j, Q_WALK, 4, -1),
		.date = col_int(j, Q_WALK, 5) };
	r->has_content = r->size != UINT64_MAX;
}

enum status journal_walk(struct journal *j,
	enum status (*each)(void *ctx, const char *uidl, size_t n, uint32_t occurrence,
		const struct journal_row *row, struct err *err),
	void *ctx, struct err *err)
{
	struct walk w = { false, 0 };
	struct journal_row row;
	const char *uidl;
	enum status rc;
	size_t n;

	rc = next_place(j, &w, query_row(j, Q_WALK_PLACES, NOTHING, err), err);
	if (rc == ST_OK)
		rc = query_row(j, Q_WALK, NOTHING, err);
	while (rc == ST_OK) {
		read_row(j, &row);
		rc = add_places(j, &w, &row, err);
		uidl = col_blob(j, Q_WALK, 6, &n);
		if (rc == ST_OK && (row.state < J_TAKEN || row.state > J_FAILED))
			rc = journal_damaged(j, err, row.id);
		if (rc == ST_OK)
			rc = each(ctx, uidl, n, (uint32_t)col_int(j, Q_WALK, 7), &row,
				err);
		if (rc == ST_OK)
			rc = query_next(j, Q_WALK, err);
		else
			query_done(j, Q_WALK);
	}
	if (w.more)
		query_done(j, Q_WALK_PLACES);
	return rc == ST_END ? ST_OK : rc;
}
