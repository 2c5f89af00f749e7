/*
 * dedup.c: is this message one we have? The Message-ID finds, content decides.
 */
#include "engine_p.h"

#include <string.h>

struct question {
	const struct engine *e;
	const struct facts *f;
	enum dedup mode;
	unsigned mask;
	enum twin answer;
	int64_t of;
};

static bool same_content(const struct question *q, const struct journal_row *row)
{
	if (q->mode == DEDUP_MESSAGE_ID_ONLY || q->mode == DEDUP_EXACT)
		return true; /* the look-up was by what counts */
	return memcmp(q->f->body, row->body, DIGEST) == 0 &&
		memcmp(q->f->ident, row->ident, DIGEST) == 0;
}

static bool moving_now(const struct engine *e, int64_t id)
{
	size_t i;

	for (i = 0; i < e->n_live; i++)
		if (e->live[i]->run->id == id)
			return true;
	return false;
}

static enum status weigh(void *ctx, const struct journal_row *row, struct err *err)
{
	struct question *q = ctx;

	(void)err;
	if (!same_content(q, row)) {
		if (q->answer == TWIN_NONE)
			q->answer = TWIN_COLLISION;
		return ST_OK;
	}
	q->of = row->id;
	if ((row->stored & q->mask) == q->mask) {
		q->answer = TWIN_STORED;
		return ST_END;
	}
	if (q->answer == TWIN_MOVING)
		return ST_OK;
	if (moving_now(q->e, row->id))
		q->answer = TWIN_MOVING;
	else if (((row->stored | row->storing) & q->mask) == q->mask)
		q->answer = TWIN_DOUBTFUL;
	else
		q->answer = TWIN_PARTLY;
	return ST_OK;
}

enum status dedup_ask(struct engine *e, const struct facts *f, enum twin *out,
	int64_t *of, const char **rule, struct err *err)
{
	struct question q = { e, f, e->job->dedup, e->mask, TWIN_NONE, 0 };
	const unsigned char *msgid = f->has_msgid ? f->msgid : NULL, *exact;
	enum status rc;
	size_t k;

	*out = TWIN_NONE;
	if (q.mode == DEDUP_NONE)
		return ST_OK;
	/* Without a Message-ID only all bytes together can tell. */
	if (!f->has_msgid)
		q.mode = DEDUP_EXACT;
	exact = q.mode == DEDUP_EXACT ? f->exact : NULL;
	rc = journal_candidates(e->journal, e->mask, msgid, exact, weigh, &q, err);
	/* What only some have is no more than a part of it. */
	for (k = 0; rc == ST_OK && e->n_slots > 1 && k < e->n_slots; k++)
		if (q.answer == TWIN_NONE || q.answer == TWIN_COLLISION)
			rc = journal_candidates(e->journal, 1u << e->slots[k].id, msgid,
				exact, weigh, &q, err);
	*out = q.answer;
	*of = q.of;
	*rule = dedup_name(q.mode);
	return rc;
}
