/* run.c: runs, their ledgers, and what failed in them. */
#include "own.h"

#include <stdlib.h>
#include <string.h>

bool ledger_balances(const struct ledger *l)
{
	return l->listed ==
		l->known + l->stored + l->duplicate + l->filtered + l->failed +
		l->vanished + l->left;
}

enum status journal_run_begin(
	struct journal *j, int64_t now, int64_t *run, struct err *err)
{
	enum status rc = query_change(j, Q_RUN_BEGIN, WITH(INT(now)), NULL, err);

	if (rc == ST_OK)
		*run = j->run = sqlite3_last_insert_rowid(j->db);
	return rc;
}

enum status journal_run_end(struct journal *j, int64_t run, int64_t now,
	const struct ledger *l, int exit, const char *reason, struct err *err)
{
	char clean[ERR_TEXT];
	enum status rc;
	int rows;

	journal_undo(j);
	text_clean(clean, sizeof(clean), reason ? reason : "",
		reason ? strlen(reason) : 0);
	rc = query_change(j, Q_RUN_END,
		WITH(INT(run), INT(now), INT(exit), TEXT(clean), INT(l->listed),
			INT(l->known), INT(l->stored), INT(l->duplicate),
			INT(l->filtered), INT(l->failed), INT(l->vanished),
			INT(l->left), INT(l->bytes), INT(l->deleted),
			INT(l->delete_left)),
		&rows, err);
	if (rc == ST_OK && rows == 0)
		rc = journal_misuse(j, err, "it has no run %lld", (long long)run);
	return rc;
}

enum status journal_last_run(
	struct journal *j, struct journal_run *out, struct err *err)
{
	enum query q = Q_LAST_RUN;
	enum status rc = query_row(j, q, NOTHING, err);
	struct ledger *l = &out->ledger;
	uint64_t *const counts[] = { &l->listed, &l->known, &l->stored, &l->duplicate,
		&l->filtered, &l->failed, &l->vanished, &l->left, &l->bytes,
		&l->deleted, &l->delete_left };
	size_t i;

	if (rc != ST_OK)
		return rc;
	out->id = col_int(j, q, 0);
	out->started = col_int(j, q, 1);
	out->finished = col_int(j, q, 2);
	out->exit = (int)col_int(j, q, 3);
	free(j->reason);
	out->reason = j->reason = xstrdup(col_text(j, q, 4));
	for (i = 0; i < N_ELEMENTS(counts); i++)
		*counts[i] = (uint64_t)col_int(j, q, 5 + (int)i);
	query_done(j, q);
	return ST_OK;
}

enum status journal_totals(
	struct journal *j, struct journal_totals *out, struct err *err)
{
	uint64_t *const counts[] = { &out->messages, &out->stored, &out->storing,
		&out->duplicate, &out->filtered, &out->failed, &out->bytes,
		&out->verified, &out->removed };
	enum status rc = query_row(j, Q_TOTALS, NOTHING, err);
	size_t i;

	if (rc != ST_OK)
		return rc;
	for (i = 0; i < N_ELEMENTS(counts); i++)
		*counts[i] = (uint64_t)col_int(j, Q_TOTALS, (int)i);
	query_done(j, Q_TOTALS);
	return ST_OK;
}

enum status journal_failures(struct journal *j, int64_t run,
	void (*each)(void *ctx, const struct journal_failure *f), void *ctx,
	struct err *err)
{
	enum query q = run ? Q_FAILURES_RUN : Q_FAILURES_NOW;
	struct value which = INT((uint64_t)run);
	struct journal_failure f;
	enum status rc;

	rc = query_row(j, q, &which, run ? 1 : 0, err);
	while (rc == ST_OK) {
		f.uidl = col_blob(j, q, 0, &f.uidl_n);
		f.number = (uint32_t)col_int(j, q, 1);
		f.size = (uint64_t)col_int_or(j, q, 2, -1);
		f.message_id = col_text(j, q, 3);
		f.subject = col_text(j, q, 4);
		f.stage = col_text(j, q, 5);
		f.reason = col_text(j, q, 6);
		f.reply = col_text(j, q, 7);
		f.tries = (unsigned)col_int(j, q, 8);
		f.at = col_int_or(j, q, 9, 0);
		each(ctx, &f);
		rc = query_next(j, q, err);
	}
	return rc == ST_END ? ST_OK : rc;
}
