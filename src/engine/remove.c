/*
 * remove.c: deleting at the source what is safe elsewhere.
 *
 * Only what was read back from every destination in this very run, and nothing there is
 * a doubt about: see may_go(). In sessions of their own, in batches; the journal knows of
 * each before the session's end, which is when POP3 deletes, and believes that it is gone
 * when the next listing no longer shows it (quirks Q19, Q45-Q47).
 */
#include <popferry/clock.h>
#include <popferry/fault.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "engine_p.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	BATCH = 100,      /* in the first session */
	BATCH_MAX = 5000, /* it doubles after each that was obeyed in full */
	KEPT_MAX = 2,     /* times a message may stay although the source agreed */
};

struct ids {
	int64_t *v;
	size_t n, cap;
};

struct remover {
	struct engine *e;
	struct doomed_set set; /* what the run's listing has, ascending */
	struct doomed_set now; /* what is found in one listing */
	struct ids banned;     /* rows whose UIDL others in the listing have too */
	struct ids still;      /* asked for, and still listed */
	struct ids back;       /* gone once, and listed again */
	int64_t asked_at;      /* clock of the batch the source agreed to; 0: none */
	uint64_t deleted, kept;
	size_t want; /* find so many in a listing */
	int64_t time;
	enum status rc; /* in callbacks */
	struct err *err;
};

/* ---- lists ---- */

static void ids_add(struct ids *l, int64_t id)
{
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 64;
		l->v = xreallocarray(l->v, l->cap, sizeof(*l->v));
	}
	l->v[l->n++] = id;
}

static int by_id(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void ids_sort(struct ids *l)
{
	if (l->n)
		qsort(l->v, l->n, sizeof(*l->v), by_id);
}

static bool ids_has(const struct ids *l, int64_t id)
{
	return l->n && bsearch(&id, l->v, l->n, sizeof(*l->v), by_id);
}

static int by_holder(const void *a, const void *b)
{
	const struct doomed *x = a, *y = b;

	if (x->holder != y->holder)
		return x->holder < y->holder ? -1 : 1;
	return by_id(&x->id, &y->id);
}

static void set_add(struct doomed_set *s, const struct doomed *d)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		s->v = xreallocarray(s->v, s->cap, sizeof(*s->v));
	}
	s->v[s->n++] = *d;
}

static struct doomed *set_find(const struct doomed_set *s, const struct doomed *d)
{
	return s->n ? bsearch(d, s->v, s->n, sizeof(*s->v), by_holder) : NULL;
}

/* ---- may it go? ---- */

struct marks {
	bool doubt, altered;
};

/* Whatever was odd about a message, only its owner may throw the source's copy away. */
static void mark(void *ctx, const char *kind)
{
	static const char *const kinds[] = { "substitute", "internal-data",
		"size-mismatch", "glued-dot", "unstuffed", "empty", "archive-only",
		"delete-ignored" };
	struct marks *m = ctx;
	size_t i;

	m->altered |= strcmp(kind, "repaired") == 0 || strcmp(kind, "wrapped") == 0;
	for (i = 0; i < N_ELEMENTS(kinds); i++)
		m->doubt |= strcmp(kind, kinds[i]) == 0;
}

/* Does a destination have what came, whatever another one made of it? */
static bool has_record(const struct engine *e)
{
	size_t k;

	for (k = 0; k < e->n_slots; k++)
		if (e->slots[k].ops->record)
			return true;
	return false;
}

static enum status in_doubt(struct remover *r, int64_t id, bool *doubt, struct err *err)
{
	struct marks m = { false, false };
	enum status rc;

	rc = journal_notice_kinds(r->e->journal, id, mark, &m, err);
	if (rc != ST_OK)
		return rc;
	*doubt |= m.doubt || (m.altered && !has_record(r->e));
	if (!r->e->run) /* a dry run: no failure can be of it */
		return ST_OK;
	rc = journal_failed_in(r->e->journal, id, r->e->run, err);
	*doubt |= rc == ST_OK;
	return rc < 0 ? rc : ST_OK;
}

/* The row whose places count. ST_END: there is none to trust. */
static enum status holder_of(struct remover *r, const struct journal_row *row,
	struct journal_row *holder, struct err *err)
{
	enum status rc;

	*holder = *row;
	if (!row->has_content)
		return ST_END;
	if (row->state == J_TAKEN)
		return ST_OK;
	if (row->state != J_DUPLICATE)
		return ST_END;
	rc = journal_get(r->e->journal, row->of, holder, err);
	if (rc != ST_OK)
		return rc;
	if (holder->state != J_TAKEN || !holder->has_content)
		return ST_END;
	/* A duplicate by looks alone is a message of its own. */
	return memcmp(row->sha256, holder->sha256, DIGEST) == 0 ||
			memcmp(row->exact, holder->exact, DIGEST) == 0
		? ST_OK
		: ST_END;
}

static enum status old_enough(struct remover *r, const struct journal_row *row,
	const struct journal_row *holder, bool *out, struct err *err)
{
	const struct engine *e = r->e;
	int64_t at = 0, age = e->job->delete_age;
	enum status rc = journal_stored_at(
		e->journal, holder->id, e->mask, r->time, &at, err);

	*out = rc == ST_OK && (!age || r->time - at >= age);
	/* Nobody noted when a duplicate was seen first: its own date has to do. */
	if (age && row->id != holder->id)
		*out = *out && row->date && r->time - row->date >= age;
	return rc < 0 ? rc : ST_OK;
}

/* Is this UIDL nothing but the message's number? Then it names nothing (Q10). */
static bool is_number(const struct journal_key *k, uint32_t number)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%" PRIu32, number);

	return k->uidl_n == (size_t)n && memcmp(k->uidl, text, k->uidl_n) == 0;
}

/* ST_OK: it may, once it is verified; ST_END: it may not. */
static enum status may_go(struct remover *r, const struct journal_key *k,
	uint32_t number, const struct journal_row *row, struct doomed *out,
	struct err *err)
{
	struct journal_row holder;
	bool doubt = false, old = false;
	enum status rc;

	if (is_number(k, number) || row->kept >= KEPT_MAX ||
		k->listed_size == UINT64_MAX || row->listed_size != k->listed_size)
		return ST_END;
	rc = holder_of(r, row, &holder, err);
	if (rc != ST_OK)
		return rc;
	if ((holder.stored & r->e->mask) != r->e->mask)
		return ST_END;
	rc = in_doubt(r, row->id, &doubt, err);
	if (rc == ST_OK && holder.id != row->id)
		rc = in_doubt(r, holder.id, &doubt, err);
	if (rc == ST_OK && !doubt)
		rc = old_enough(r, row, &holder, &old, err);
	if (rc != ST_OK)
		return rc;
	*out = (struct doomed){ .id = row->id, .holder = holder.id, .number = number };
	return doubt || !old ? ST_END : ST_OK;
}

/* ---- one listing ---- */

/* UIDLs that name two messages name none (quirk Q4). */
static enum status ban(struct remover *r, const struct journal_key *k, struct err *err)
{
	struct journal_row first;
	enum status rc = journal_find(
		r->e->journal, k->uidl, k->uidl_n, 1, &first, err);

	if (rc == ST_OK)
		ids_add(&r->banned, first.id);
	return rc < 0 ? rc : ST_OK;
}

static enum status see(struct remover *r, const struct journal_key *k, uint32_t number,
	struct err *err)
{
	struct journal_row row;
	struct doomed d;
	enum status rc;

	if (!k->uidl)
		return ST_OK;
	rc = journal_find(r->e->journal, k->uidl, k->uidl_n, k->occurrence, &row, err);
	if (rc == ST_OK && row.asked)
		ids_add(&r->still, row.id);
	else if (rc == ST_OK && row.removed)
		ids_add(&r->back, row.id);
	if (k->occurrence > 1)
		return rc < 0 ? rc : ban(r, k, err);
	if (rc != ST_OK || r->now.n >= r->want)
		return rc < 0 ? rc : ST_OK;
	rc = may_go(r, k, number, &row, &d, err);
	if (rc != ST_OK)
		return rc < 0 ? rc : ST_OK;
	if (r->want != SIZE_MAX) { /* only what this run looked at */
		const struct doomed *known = set_find(&r->set, &d);

		if (!known || (known->good & r->e->mask) != r->e->mask || known->gone)
			return ST_OK;
	}
	set_add(&r->now, &d);
	return ST_OK;
}

static void see_item(void *ctx, const struct item *it)
{
	struct remover *r = ctx;
	const struct journal_key k = { it->uidl, it->uidl_n, it->occurrence, it->size,
		0 };

	if (r->rc == ST_OK)
		r->rc = see(r, &k, it->number, r->err);
}

static void begin_listing(struct remover *r, size_t want)
{
	r->now.n = r->banned.n = r->still.n = r->back.n = 0;
	r->want = want;
	r->time = clock_utc();
}

static void end_listing(struct remover *r)
{
	size_t i, n = 0;

	ids_sort(&r->banned);
	ids_sort(&r->still);
	for (i = 0; i < r->now.n; i++)
		if (!ids_has(&r->banned, r->now.v[i].id))
			r->now.v[n++] = r->now.v[i];
	r->now.n = n;
}

/* The run's own listing. */
static enum status see_tasks(struct remover *r, struct err *err)
{
	struct engine *e = r->e;
	struct journal_key k;
	enum status rc;
	size_t i;

	begin_listing(r, SIZE_MAX);
	rc = journal_begin(e->journal, err);
	for (i = 0; rc == ST_OK && i < e->tasks.n; i++) {
		const struct task *t = &e->tasks.v[i];

		if (!t->number)
			continue;
		tasks_key(&e->tasks, t, &k);
		rc = see(r, &k, t->number, err);
	}
	if (rc == ST_OK)
		rc = journal_commit(e->journal, err);
	end_listing(r);
	return rc;
}

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

		set_find(&r->set, d)->number = d->number;
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
			set_find(&r->set, d)->good = 0;
			rc = ST_OK;
		} else if (rc != ST_OK) {
			*err = why;
		}
	}
	return rc;
}

/* ST_END: nothing is left to delete. */
static enum status one_session(struct remover *r, struct source *src, size_t batch,
	size_t *obeyed, struct err *err)
{
	struct engine *e = r->e;
	uint64_t before = r->deleted, most = e->job->max_delete;
	struct listing l;
	enum status rc;

	if (most)
		batch = before >= most          ? 0
			: most - before < batch ? (size_t)(most - before)
						: batch;
	begin_listing(r, batch);
	r->rc = ST_OK;
	r->err = err;
	rc = src->ops->list(src, see_item, r, &l, err);
	if (rc == ST_OK)
		rc = r->rc;
	if (rc != ST_OK)
		return rc;
	end_listing(r);
	rc = settle(r, err);
	if (rc == ST_OK)
		rc = drop_kept(r, err);
	*obeyed = (size_t)(r->deleted - before);
	if (rc != ST_OK)
		return rc;
	if (most && r->now.n > most - (r->deleted < most ? r->deleted : most))
		r->now.n = (size_t)(most - (r->deleted < most ? r->deleted : most));
	if (r->now.n == 0) {
		src->ops->finish(src, NULL);
		return ST_END;
	}
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

/* A profile's number stays what it is. */
static size_t next_batch(const struct engine *e, size_t batch, size_t obeyed)
{
	if (e->job->source.pop3.delete_batch || obeyed < batch)
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

		if (atomic_load(&e->stop))
			return engine_stopped(err);
		obeyed = 0;
		rc = visits_wait(e, LOGIN_WAIT_MAX_S, err);
		if (rc == ST_OK)
			rc = session_open(e, &src, err);
		if (rc == ST_OK)
			rc = one_session(r, src, batch, &obeyed, err);
		session_close(e, &src);
		batch = next_batch(e, batch, obeyed);
		if (rc == ST_OK || rc == ST_RETRY)
			attempts = obeyed ? 0 : attempts + 1;
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
	free(r->back.v);
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
	struct checked checked[SINKS_MAX];
	uint64_t good;
	enum status rc;

	rc = see_tasks(r, err);
	if (rc == ST_OK)
		rc = settle(r, err);
	if (rc != ST_OK)
		return rc;
	r->set = r->now;
	r->now = (struct doomed_set){ NULL, 0, 0 };
	if (r->set.n)
		qsort(r->set.v, r->set.n, sizeof(*r->set.v), by_holder);
	for (size_t i = 0; i < r->set.n; i++)
		r->set.v[i].number = 0;
	rc = verify_places(e, &r->set, false, checked, err);
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

enum status remove_count(struct engine *e, uint64_t *n, struct err *err)
{
	struct remover r = { .e = e };
	enum status rc = see_tasks(&r, err);

	*n = r.now.n;
	release(&r);
	return rc;
}
