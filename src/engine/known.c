/* known.c: is there a row of the journal for this very message, and which? */
#include "engine_p.h"

#include <string.h>

/* Servers rewrite Status and the like between sessions (quirk Q39). */
bool known_bytes(const struct journal_row *row, const struct facts *f)
{
	return memcmp(row->sha256, f->sha256, DIGEST) == 0 ||
		memcmp(row->exact, f->exact, DIGEST) == 0;
}

/* And some render the whole message anew, with other MIME boundaries. */
static bool same_letter(const struct journal_row *row, const struct facts *f)
{
	return row->has_msgid && f->has_msgid &&
		memcmp(row->msgid, f->msgid, DIGEST) == 0 &&
		memcmp(row->ident, f->ident, DIGEST) == 0;
}

/* Where no UIDL tells which it is, equal ones are given a row each. */
static enum status find_free(
	struct engine *e, struct parcel *p, struct journal_row *row, struct err *err)
{
	const struct task *t = &e->tasks.v[p->task];
	const struct facts *f = &p->message->facts;
	struct journal_key key;
	enum status rc = t->has_uidl ? ST_END : ST_OK;
	int64_t *upto = trail(e, TRAIL_CONTENT, f->sha256, NULL, 0);

	while (rc == ST_OK) {
		rc = journal_find_content(e->journal, f->sha256, *upto, row, err);
		if (rc == ST_OK && !nameless_given(e, row->id))
			break;
		if (rc == ST_OK)
			*upto = row->id;
	}
	if (rc != ST_END)
		return rc;
	p->run->settled = true;
	rc = recall_free(e, p, row, err);
	tasks_key(&e->tasks, t, &key);
	if (rc != ST_END || !key.uidl)
		return rc;
	rc = journal_find(e->journal, key.uidl, key.uidl_n, key.occurrence, row, err);
	return rc == ST_OK && row->state != J_DUPLICATE ? ST_END : rc;
}

/* The row under the message's own name, if that is this very content. */
static enum status find_own(
	struct engine *e, struct parcel *p, struct journal_row *row, struct err *err)
{
	const struct task *t = &e->tasks.v[p->task];
	const struct facts *f = &p->message->facts;
	struct journal_key key;
	enum status rc;

	tasks_key(&e->tasks, t, &key);
	if (!key.uidl || t->shared)
		rc = find_free(e, p, row, err);
	else
		rc = journal_find(
			e->journal, key.uidl, key.uidl_n, key.occurrence, row, err);
	if (rc == ST_OK && !row->has_content)
		rc = ST_END;
	if (rc == ST_OK && !known_bytes(row, f)) {
		p->run->settled = true;
		rc = same_letter(row, f) && (row->stored | row->storing) & e->mask
			? ST_OK
			: ST_END;
	}
	if (rc == ST_OK)
		p->run->id = row->id;
	else
		p->run->settled = false;
	return rc;
}

enum status known_take(struct engine *e, struct parcel *p, struct err *err)
{
	struct journal_key key;

	tasks_key(&e->tasks, &e->tasks.v[p->task], &key);
	key.row = p->run->id;
	return journal_take(e->journal, &key, &p->message->facts,
		p->run->verdict.date.known ? p->run->verdict.date.utc : 0, &p->run->id,
		err);
}

/* It is a message that the journal has under another UIDL. */
static enum status recall(struct engine *e, struct parcel *p, int64_t own,
	struct journal_row *row, struct err *err)
{
	struct journal_row root;
	enum status rc = recall_find(e, p, own, &root, err);

	if (rc != ST_OK)
		return rc;
	if (!own) {
		rc = known_take(e, p, err);
		if (rc == ST_OK)
			rc = journal_reissued(e->journal, p->run->id, root.id, err);
	}
	nameless_give(e, p); /* the row of its name, and then the root */
	*row = root;
	p->run->id = root.id;
	p->run->settled = true;
	return rc;
}

enum status known_find(
	struct engine *e, struct parcel *p, struct journal_row *row, struct err *err)
{
	struct journal_row other = { 0 };
	enum status rc = find_own(e, p, row, err), known;

	if (rc < 0)
		return rc;
	if (rc == ST_OK && row->state != J_DUPLICATE)
		return rc;
	known = recall(e, p, rc == ST_OK ? row->id : 0, &other, err);
	if (known == ST_END)
		return rc;
	*row = other;
	return known;
}
