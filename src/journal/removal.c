/* removal.c: what the source was asked to delete. */
#include "own.h"

static enum status change(
	struct journal *j, enum query q, int64_t id, int64_t when, struct err *err)
{
	struct value at = when ? INT((uint64_t)when) : BLOB(NULL, 0);
	enum status rc;
	int rows;

	rc = query_change(j, q, WITH(INT((uint64_t)id), at), &rows, err);
	if (rc == ST_OK && rows == 0)
		rc = journal_misuse(j, err, "it has no message %lld", (long long)id);
	return rc;
}

enum status journal_remove_asked(
	struct journal *j, int64_t id, int64_t now, struct err *err)
{
	return change(j, Q_REMOVE_ASKED, id, now, err);
}

enum status journal_remove_settled(
	struct journal *j, int64_t id, int64_t gone, struct err *err)
{
	return change(j, Q_REMOVE_SETTLED, id, gone, err);
}

enum status journal_remove_kept(struct journal *j, int64_t id, struct err *err)
{
	enum status rc;
	int rows;

	rc = query_change(j, Q_REMOVE_KEPT, WITH(INT((uint64_t)id)), &rows, err);
	if (rc == ST_OK && rows == 0)
		rc = journal_misuse(j, err, "it has no message %lld", (long long)id);
	return rc;
}

/* One row at a time, so that each() may change it. */
enum status journal_removals(struct journal *j,
	enum status (*each)(void *ctx, int64_t id, struct err *err), void *ctx,
	struct err *err)
{
	enum query q = Q_REMOVALS;
	enum status rc;
	int64_t id = 0;

	while ((rc = query_row(j, q, WITH(INT((uint64_t)id)), err)) == ST_OK) {
		id = col_int(j, q, 0);
		query_done(j, q);
		rc = each(ctx, id, err);
		if (rc != ST_OK)
			break;
	}
	return rc == ST_END ? ST_OK : rc;
}

enum status journal_removed_count(struct journal *j, uint64_t *n, struct err *err)
{
	enum status rc = query_row(j, Q_REMOVED_COUNT, NOTHING, err);

	if (rc != ST_OK)
		return rc;
	*n = (uint64_t)col_int(j, Q_REMOVED_COUNT, 0);
	query_done(j, Q_REMOVED_COUNT);
	return ST_OK;
}

enum status journal_failed_in(
	struct journal *j, int64_t id, int64_t run, struct err *err)
{
	enum status rc = query_row(
		j, Q_FAILED_IN, WITH(INT((uint64_t)id), INT((uint64_t)run)), err);

	if (rc == ST_OK)
		query_done(j, Q_FAILED_IN);
	return rc;
}
