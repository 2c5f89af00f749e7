/*
 * unchanged.c: a listing that is the last one's, of which all was known.
 *
 * What a plan comes to depends on the listing, the journal and the destinations. If
 * none has changed since a plan to which all was known, all is known again, and the
 * journal need not be asked message by message. For a job that runs every few minutes
 * that is nearly every time.
 */
#include "engine_p.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <endian.h>
#include <string.h>

/* Deletion wants to see each row, and so does a message that may have two names. */
static bool may_skip(const struct engine *e)
{
	return e->journal && e->tasks.n && e->tasks.old == 0 &&
		e->job->dedup != DEDUP_NONE && e->job->delete == DELETE_NEVER &&
		!e->job->check;
}

/* All that journal_walk() is asked about. */
static void describe(const struct engine *e, char out[2 * DIGEST + 1])
{
	const struct tasks *all = &e->tasks;
	unsigned char digest[DIGEST];
	uint64_t rows[3 * 256] = { htole64(1), htole64(e->mask), htole64(all->n) };
	struct sha sha;
	size_t i, n = 3;

	sha_init(&sha);
	for (i = 0; i < all->n; i++) {
		const struct task *t = &all->v[i];

		if (n == N_ELEMENTS(rows)) {
			sha_add(&sha, (const char *)rows, sizeof(rows));
			n = 0;
		}
		rows[n++] = htole64(t->has_uidl ? t->uidl_n : UINT64_MAX);
		rows[n++] = htole64(t->occurrence);
		rows[n++] = htole64(t->size);
	}
	sha_add(&sha, (const char *)rows, n * sizeof(*rows));
	/* In the order of the listing, for it is the first one of this run. */
	sha_add(&sha, all->text, all->text_n);
	sha_end(&sha, digest);
	text_hex(out, digest, DIGEST);
}

bool unchanged_since(struct engine *e)
{
	const char *last;
	size_t i;

	e->seen[0] = '\0';
	if (!may_skip(e))
		return false;
	describe(e, e->seen);
	last = journal_unchanged(e->journal);
	if (!last || strcmp(last, e->seen) != 0)
		return false;
	for (i = 0; i < e->tasks.n; i++)
		tasks_set(&e->tasks, &e->tasks.v[i], TASK_KNOWN);
	return true;
}

enum status unchanged_note(struct engine *e, struct err *err)
{
	enum status rc;

	if (!e->seen[0])
		return ST_OK;
	rc = journal_begin_lazy(e->journal, err);
	if (rc == ST_OK)
		rc = journal_set_unchanged(e->journal, e->seen, err);
	return rc == ST_OK ? journal_commit(e->journal, err) : rc;
}
