/*
 * remove.c: deleting at the source what is safe elsewhere.
 *
 * Only what was read back from every destination in this very run, and nothing there is
 * a doubt about (doomed.c), and what the source still gives as it was stored (prove.c).
 * In sessions of their own, in batches; the journal knows of each before the session's
 * end, which is when POP3 deletes, and believes that it is gone when the next listing
 * no longer shows it (quirks Q19, Q45-Q47).
 */
#include <popferry/clock.h>
#include <popferry/fault.h>
#include <popferry/mem.h>

#include "remove.h"

#include <stdlib.h>
#include <string.h>

enum {
	BATCH = 100,      /* in the first session */
	BATCH_MAX = 5000, /* it doubles after each that was obeyed in full */
	BATCH_CUT = 4,    /* a lost session divides it by this */
};

/* ---- what came of it ---- */

static enum status stays(struct remover *r, int64_t id, struct err *err)
{
	struct engine *e = r->e;
	struct journal_row row;
	enum status rc = journal_remove_kept(e->journal, id, err);

	if (rc == ST_OK)
		rc = journal_get(e->journal, id, &row, err);
	if (rc != ST_OK || row.kept < KEPT_MAX)
		return rc;
	r->kept++;
	return journal_notice(e->journal, id, "delete-ignored",
		"the source agrees to delete it and keeps it; it is not asked again",
		err);
}

static enum status settle_one(void *ctx, int64_t id, struct err *err)
{
	struct remover *r = ctx;
	struct journal_row row;
	enum status rc;

	if (!ids_has(&r->still, id)) {
		ids_add(&r->gone, id);
		r->deleted++;
		return journal_remove_settled(r->e->journal, id, r->time, err);
	}
	rc = journal_get(r->e->journal, id, &row, err);
	if (rc != ST_OK)
		return rc;
	/* Unless it agreed it need not have deleted anything. */
	return r->asked_at && row.asked >= r->asked_at
		? stays(r, id, err)
		: journal_remove_settled(r->e->journal, id, 0, err);
}

static void note_gone(struct remover *r)
{
	size_t i;

	/* What the last batch held and is not listed any more. */
	for (i = 0; i < r->set.n; i++)
		if (r->set.v[i].number && !r->set.v[i].gone) {
			r->set.v[i].gone = !ids_has(&r->still, r->set.v[i].id);
			r->set.v[i].number = 0;
		}
}

/* This listing tells what became of what was asked for before it. */
static enum status settle(struct remover *r, struct err *err)
{
	struct engine *e = r->e;
	enum status rc = journal_begin(e->journal, err);
	size_t i;

	if (rc == ST_OK)
		rc = journal_removals(e->journal, settle_one, r, err);
	for (i = 0; rc == ST_OK && i < r->back.n; i++)
		rc = stays(r, r->back.v[i], err);
	if (rc == ST_OK)
		rc = story_removed(e, r->gone.v, r->gone.n, err);
	r->gone.n = 0;
	if (rc == ST_OK)
		rc = journal_commit(e->journal, err);
	fault_step("delete-confirmed");
	if (rc == ST_OK)
		note_gone(r);
	r->asked_at = 0;
	return rc;
}

/* ---- one session ---- */

/* This listing was the last proof that some are not worth another try. */
static enum status drop_kept(struct remover *r, struct err *err)
{
	struct journal_row row;
	enum status rc = ST_OK;
	size_t i, n = 0;

	for (i = 0; rc == ST_OK && i < r->now.n; i++) {
		rc = journal_get(r->e->journal, r->now.v[i].id, &row, err);
		if (rc == ST_OK && row.kept < KEPT_MAX)
			r->now.v[n++] = r->now.v[i];
	}
	r->now.n = n;
	return rc;
}

/* Durable before anything is asked: what is gone then is no riddle to the next run. */
static enum status announce(struct remover *r, struct err *err)
{
	struct engine *e = r->e;
	enum status rc = journal_begin(e->journal, err);
	size_t i;

	for (i = 0; rc == ST_OK && i < r->now.n; i++) {
		const struct doomed *d = &r->now.v[i];

		doomed_find(&r->set, d)->number = d->number;
		rc = journal_remove_asked(e->journal, d->id, r->time, err);
	}
	if (rc == ST_OK)
		rc = journal_commit(e->journal, err);
	fault_step("delete-asked");
	return rc;
}

static void tell_one(struct remover *r, const struct doomed *d)
{
	char *uidl = NULL;
	size_t n = 0;

	if (journal_uidl(r->e->journal, d->id, &uidl, &n, NULL) == ST_OK && uidl)
		log_info(&r->e->log, "deleting", LOG_U("number", d->number),
			LOG_B("uidl", uidl, n), LOG_U("row", (uint64_t)d->id));
	free(uidl);
}

static enum status ask(struct remover *r, struct source *src, struct err *err)
{
	struct err why = ERR_INIT;
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < r->now.n; i++) {
		const struct doomed *d = &r->now.v[i];

		if (atomic_load(&r->e->stop))
			return engine_stopped(err);
		tell_one(r, d);
		rc = src->ops->remove(src, d->number, &why);
		if (rc == ST_SKIP) { /* not in this run */
			log_warn(&r->e->log, "delete-refused",
				LOG_U("number", d->number), LOG_S("reason", why.text));
			doomed_find(&r->set, d)->good = 0;
			rc = ST_OK;
		} else if (rc != ST_OK) {
			*err = why;
		}
	}
	return rc;
}

/* So many more may be asked for. */
static size_t room(const struct remover *r, size_t batch)
{
	uint64_t most = r->e->job->max_delete;
	uint64_t left = r->deleted < most ? most - r->deleted : 0;

	return most && left < batch ? (size_t)left : batch;
}

/* The listing of a session, and what it says of what was asked for before. */
static enum status look(struct remover *r, struct source *src, size_t batch,
	size_t *obeyed, struct err *err)
{
	uint64_t before = r->deleted;
	struct listing l;
	enum status rc;

	doomed_begin(r, r->trusted ? batch : SIZE_MAX);
	r->rc = ST_OK;
	r->err = err;
	rc = src->ops->list(src, doomed_see, r, &l, err);
	if (rc == ST_OK)
		rc = r->rc;
	if (rc != ST_OK)
		return rc;
	doomed_end(r);
	rc = settle(r, err);
	if (rc == ST_OK)
		rc = drop_kept(r, err);
	*obeyed = (size_t)(r->deleted - before);
	return rc == ST_OK ? prove_end(r, err) : rc;
}

/* ST_END: nothing is left to delete. */
static enum status one_session(struct remover *r, struct source *src, size_t batch,
	size_t *obeyed, struct err *err)
{
	bool abandon = false;
	enum status rc;

	rc = look(r, src, batch, obeyed, err);
	if (rc == ST_OK)
		rc = prove_begin(r, room(r, batch), err);
	if (rc != ST_OK)
		return rc;
	if (r->now.n == 0) {
		src->ops->finish(src, NULL);
		return ST_END;
	}
	rc = prove_same(r, src, &abandon, err);
	if (rc != ST_OK || abandon)
		return rc;
	rc = announce(r, err);
	if (rc == ST_OK)
		rc = ask(r, src, err);
	if (rc != ST_OK)
		return rc;
	fault_step("delete-quit");
	rc = src->ops->finish(src, err);
	fault_step("delete-sent");
	if (rc == ST_OK)
		r->asked_at = r->time;
	return rc;
}

static size_t first_batch(const struct engine *e)
{
	return e->job->source.pop3.delete_batch ? e->job->source.pop3.delete_batch
						: BATCH;
}

/* A profile's number stays what it is, unless no session lives for so many. */
static size_t next_batch(
	const struct remover *r, size_t batch, size_t obeyed, bool lost)
{
	if (lost && !obeyed)
		return batch > BATCH_CUT ? batch / BATCH_CUT : 1;
	if (r->e->job->source.pop3.delete_batch)
		return first_batch(r->e);
	/* A session with nothing but probes says nothing of larger ones. */
	if (obeyed < batch)
		return batch;
	return 2 * batch < BATCH_MAX ? 2 * batch : BATCH_MAX;
}

static enum status sessions(struct remover *r, struct err *err)
{
	struct engine *e = r->e;
	size_t batch = first_batch(e), obeyed = 0;
	unsigned attempts = 0;
	enum status rc = ST_OK;

	engine_phase(e, "deleting");
	while (rc == ST_OK) {
		struct source *src = NULL;
		uint64_t withdrawn = r->withdrawn;

		if (atomic_load(&e->stop))
			return engine_stopped(err);
		obeyed = 0;
		rc = visits_wait(e, LOGIN_WAIT_MAX_S, err);
		if (rc == ST_OK)
			rc = session_open(e, &src, err);
		if (rc == ST_OK)
			rc = one_session(r, src, batch, &obeyed, err);
		session_close(e, &src);
		batch = next_batch(r, batch, obeyed, rc == ST_RETRY);
		if (rc == ST_OK || rc == ST_RETRY)
			attempts = obeyed || r->withdrawn > withdrawn ? 0
								      : attempts + 1;
		if (rc == ST_RETRY && attempts <= ATTEMPTS) {
			engine_backoff(e, attempts ? attempts : 1, 0, err,
				e->job->source.scheme);
			rc = ST_OK;
		}
		/* A server that agrees and does nothing. */
		if (rc == ST_OK && attempts > ATTEMPTS)
			return ST_OK;
	}
	return rc == ST_END ? ST_OK : rc;
}

/* ---- the whole ---- */

static void release(struct remover *r)
{
	free(r->set.v);
	free(r->now.v);
	free(r->banned.v);
	free(r->still.v);
	free(r->gone.v);
	free(r->back.v);
	free(r->proven.v);
	free(r->probes.v);
}

static uint64_t count_good(const struct remover *r, bool gone)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < r->set.n; i++)
		n += gone ? r->set.v[i].gone
			  : (r->set.v[i].good & r->e->mask) == r->e->mask;
	return n;
}

static enum status verify_and_remove(struct remover *r, struct err *err)
{
	struct engine *e = r->e;
	uint64_t good;
	enum status rc;

	rc = doomed_tasks(r, err);
	if (rc == ST_OK)
		rc = settle(r, err);
	if (rc != ST_OK)
		return rc;
	r->set = r->now;
	r->now = (struct doomed_set){ NULL, 0, 0 };
	if (r->set.n)
		qsort(r->set.v, r->set.n, sizeof(*r->set.v), doomed_order);
	for (size_t i = 0; i < r->set.n; i++)
		r->set.v[i].number = 0;
	rc = verify_places(e, &r->set, VERIFY_NEW, e->checked, err);
	good = count_good(r, false);
	if (rc != ST_OK || !good)
		return rc;
	log_info(&e->log, "delete", LOG_U("messages", good),
		LOG_U("limit", e->job->max_delete),
		LOG_U("age_s", (uint64_t)e->job->delete_age));
	return sessions(r, err);
}

enum status remove_verified(struct engine *e, struct ledger *l, struct err *err)
{
	struct remover r = { .e = e };
	enum status rc = verify_and_remove(&r, err);

	if (rc < 0)
		err_note(err, "all is copied, but deleting at the source failed");
	l->deleted = r.deleted;
	l->delete_left = r.set.n - count_good(&r, true);
	if (r.kept)
		log_warn(&e->log, "delete-ignored", LOG_U("messages", r.kept),
			LOG_S("meaning",
				"the source agrees to delete them and keeps them"));
	release(&r);
	return rc;
}

enum status remove_count(struct engine *e, const uint32_t *order, size_t n,
	uint64_t *out, struct err *err)
{
	struct remover r = { .e = e };
	enum status rc = e->journal ? doomed_tasks(&r, err) : ST_OK;
	size_t i;

	*out = r.now.n;
	/* What the same run copies may go with it. */
	for (i = 0; i < n && !e->job->delete_age; i++) {
		const struct task *t = &e->tasks.v[order[i]];
		struct journal_key k;

		tasks_key(&e->tasks, t, &k);
		*out += doomed_may_be(&k, t->number);
	}
	if (e->job->max_delete && *out > e->job->max_delete)
		*out = e->job->max_delete;
	release(&r);
	return rc;
}
