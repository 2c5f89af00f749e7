/* reissue.c: one message under several UIDLs, because the server gave it new ones. */
#include "own.h"

/* As the queries look for it. */
static const char rule[] = "uidl-reissued";

static enum status walk(struct journal *j, enum query q, const struct facts *f,
	int64_t id, journal_each_alias *each, void *ctx, struct err *err)
{
	struct journal_alias a;
	enum status rc, said;

	if (hint_absent(j, hint_digest(HINT_EXACT, f->exact)))
		return ST_OK;
	rc = query_row(j, q,
		(struct value[]){ BLOB(f->exact, DIGEST), INT((uint64_t)id),
			BLOB(f->msgid, DIGEST) },
		q == Q_ALIASES ? 3 : 2, err);
	if (rc == ST_END)
		return hint_missed(j, err);
	while (rc == ST_OK) {
		a.row = col_int(j, q, 0);
		a.root = col_int(j, q, 1);
		a.uidl = col_blob(j, q, 2, &a.uidl_n);
		a.occurrence = (uint32_t)col_int(j, q, 3);
		a.current = col_int(j, q, 4) == 0;
		said = each(ctx, &a, err);
		if (said != ST_OK) {
			query_done(j, q);
			rc = said;
			break;
		}
		rc = query_next(j, q, err);
	}
	return rc == ST_END ? ST_OK : rc;
}

enum status journal_aliases(struct journal *j, const struct facts *f, int64_t after,
	journal_each_alias *each, void *ctx, struct err *err)
{
	return walk(
		j, f->has_msgid ? Q_ALIASES : Q_ALIASES_BARE, f, after, each, ctx, err);
}

enum status journal_names(struct journal *j, int64_t root, const struct facts *f,
	journal_each_alias *each, void *ctx, struct err *err)
{
	return walk(j, Q_NAMES, f, root, each, ctx, err);
}

uint64_t journal_asides(const struct journal *j)
{
	return j->asides;
}

enum status journal_reissued(
	struct journal *j, int64_t id, int64_t root, struct err *err)
{
	return journal_duplicate(j, id, root, rule, err);
}

enum status journal_root(struct journal *j, int64_t id, int64_t *root, struct err *err)
{
	enum status rc = query_row(j, Q_ROOT, WITH(INT((uint64_t)id)), err);

	if (rc != ST_OK)
		return rc;
	*root = col_int(j, Q_ROOT, 0);
	query_done(j, Q_ROOT);
	return ST_OK;
}
