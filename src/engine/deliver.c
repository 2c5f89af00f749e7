/*
 * deliver.c: one batch of messages through journal, sinks, journal.
 *
 *	prepare.c: judge, find duplicates    -> what each sink still needs
 *	journal  STORING with floors            one sync
 *	put to every sink, commit               the sinks' own syncs
 *	journal  STORED with receipts           one sync
 *
 * What a server refuses may go up in another form: rescue.c.
 *
 * A sink that is lost on the way is opened anew and asked, message by
 * message, what got through: the same road as after a crash.
 */
#include <popferry/clock.h>
#include <popferry/fault.h>
#include <popferry/mem.h>

#include "engine_p.h"

#include <stdlib.h>
#include <string.h>

enum { EASE_TRY = 4 }; /* a wait without a named time is that of the 4th try */

/* ---- put and commit ---- */

/*
 * It said OK and stored nothing (quirk Q112): once more, and then it has failed.
 */
static void deny(struct parcel *p, size_t k)
{
	struct delivery *d = &p->run->delivery[k];

	d->unsaid = false;
	d->outcome = DELIVERY_PENDING;
	if (p->run->again[k]) {
		d->outcome = DELIVERY_REFUSED;
		d->cause = REFUSED_OTHERWISE;
		err_set(&d->err, ST_SKIP, EX_UNAVAILABLE,
			"the server said twice that it has the message, and it is not "
			"in folder \"%s\"",
			d->folder);
	}
	p->run->again[k] = true;
}

/*
 * Where a sink has what it stored without saying where. Needed where equal
 * messages are kept, for there one must not be taken for the other, and where
 * it should have said. *missing: some are not there after all, and pending again.
 */
static enum status learn_places(struct engine *e, size_t k, struct parcel **v, size_t n,
	bool *missing, struct err *err)
{
	struct slot *s = &e->slots[k];
	enum status rc = ST_OK;
	size_t i;

	*missing = false;
	for (i = 0; i < n; i++) {
		struct delivery *d = &v[i]->run->delivery[k];

		if (!v[i]->run->need[k] || d->outcome != DELIVERY_STORED || d->place ||
			(e->job->dedup != DEDUP_NONE && !d->unsaid))
			continue;
		rc = slot_open(e, s, err);
		if (rc == ST_OK) {
			v[i]->run->patience[k] = clock_ms() +
				(d->unsaid ? slot_settle_ms(e, s) : 1);
			rc = parcel_look(e, v[i], k, err);
		}
		if (rc < 0)
			return rc;
		if (rc == ST_END && d->unsaid) {
			deny(v[i], k);
			*missing |= d->outcome == DELIVERY_PENDING;
		}
		d->unsaid = false;
	}
	return ST_OK;
}

/* In a new session: what this batch has stored must not be found for another. */
static void claim_stored(struct engine *e, size_t k, struct parcel **v, size_t n)
{
	struct slot *s = &e->slots[k];
	size_t i;

	for (i = 0; i < n; i++) {
		const struct delivery *d = &v[i]->run->delivery[k];

		if (v[i]->run->need[k] && d->outcome == DELIVERY_STORED && d->place)
			s->ops->claim(s->sink, d->folder, d->generation, d->place,
				d->message->facts.exact);
	}
}

/* It is not there and has ended too many sessions: others must get through. */
static void give_up(struct parcel *p, size_t k, const struct err *why)
{
	struct delivery *d = &p->run->delivery[k];

	d->outcome = DELIVERY_REFUSED;
	d->err = *why;
	d->err.status = ST_SKIP;
	err_note(&d->err, "left out after it ended %d sessions", POISON_TRIES);
}

static enum status put_one(
	struct engine *e, struct parcel *p, size_t k, struct err *err)
{
	struct delivery *d = &p->run->delivery[k];
	struct slot *s = &e->slots[k];
	enum status rc;

	if (p->run->look[k]) {
		rc = parcel_look(e, p, k, err);
		if (rc != ST_END)
			return rc;
		p->run->look[k] = false;
		if (p->run->tries[k] >= POISON_TRIES) {
			give_up(p, k, err);
			return ST_OK;
		}
	}
	p->run->sent[k] = true;
	rc = s->ops->put(s->sink, d, err);
	if (rc == ST_SKIP) {
		d->outcome = DELIVERY_REFUSED;
		d->err = *err;
		rc = ST_OK;
	}
	return rc;
}

enum status deliver_put(
	struct engine *e, size_t k, struct parcel **v, size_t n, struct err *err)
{
	enum status rc = slot_open(e, &e->slots[k], err);
	bool missing;
	size_t i;

	if (rc == ST_OK && e->slots[k].losses)
		claim_stored(e, k, v, n);
	if (rc == ST_OK)
		rc = learn_places(e, k, v, n, &missing, err);
	for (i = 0; rc == ST_OK && i < n; i++)
		if (v[i]->run->need[k] &&
			v[i]->run->delivery[k].outcome == DELIVERY_PENDING)
			rc = put_one(e, v[i], k, err);
	return rc;
}

/*
 * The session is lost: what is known of each message now? When that happens
 * twice in a batch, the rest goes one by one, so that a message that ends every
 * session is known from the others.
 */
static void doubt_all(struct engine *e, size_t k, struct parcel **v, size_t n)
{
	struct slot *s = &e->slots[k];
	bool singly = s->sink && s->ops->overreached(s->sink);
	struct parcel *last = NULL;
	size_t i, stored = 0, flying = 0;

	for (i = 0; i < n; i++) {
		struct delivery *d = &v[i]->run->delivery[k];

		if (!v[i]->run->need[k])
			continue;
		stored += d->outcome == DELIVERY_STORED;
		if (d->outcome == DELIVERY_PENDING && v[i]->run->sent[k] &&
			!d->absent) {
			v[i]->run->look[k] = true;
			v[i]->run->patience[k] = clock_ms() + slot_settle_ms(e, s);
			last = v[i];
			flying++;
		}
		v[i]->run->sent[k] = d->absent = false;
	}
	if (flying == 1)
		last->run->tries[k]++;
	/* Progress earns new attempts. */
	if (stored > s->stored)
		s->attempts = 0;
	s->stored = stored;
	s->losses++;
	if (singly || s->losses > 1)
		s->cautious = true;
}

/* It has taken all, but asks for less haste (quirk Q88). */
static void ease_off(struct engine *e, struct slot *s)
{
	int asked = s->sink ? s->ops->wait_ms(s->sink) : 0;
	struct err why;

	if (!asked)
		return;
	err_set(&why, ST_RETRY, EX_TEMPFAIL, "the server asks for less haste");
	engine_backoff(e, EASE_TRY, asked, &why, s->end->scheme);
}

enum status deliver_settle(struct engine *e, size_t k, struct parcel **v, size_t n,
	enum status rc, struct err *err)
{
	struct slot *s = &e->slots[k];
	bool missing = false;

	for (;;) {
		if (rc == ST_OK)
			rc = s->ops->commit(s->sink, err);
		if (rc == ST_OK)
			rc = learn_places(e, k, v, n, &missing, err);
		if (rc == ST_OK && !missing)
			break;
		if (rc == ST_RETRY) {
			doubt_all(e, k, v, n);
			rc = slot_again(e, s, err);
		}
		if (rc != ST_OK)
			return rc;
		/* One by one, so that one that is lost takes no other with it. */
		if (missing) {
			s->cautious = true;
			s->losses++;
			slot_close(e, s);
		}
		rc = deliver_put(e, k, v, n, err);
	}
	s->attempts = s->losses = 0;
	s->stored = 0;
	ease_off(e, s);
	if (s->cautious) { /* that batch is through: full speed again */
		s->cautious = false;
		slot_close(e, s);
	}
	return ST_OK;
}

/* ---- after: what became of it ---- */

static void count_done(struct engine *e, const struct parcel *p, bool failed)
{
	pthread_mutex_lock(&e->lock);
	e->progress.done++;
	e->progress.failed += failed;
	if (p->message)
		e->progress.done_bytes += p->message->facts.size;
	pthread_mutex_unlock(&e->lock);
}

/* Slot k refused it. *all: and yet it is safe. */
static enum status record_refused(
	struct engine *e, struct parcel *p, size_t k, bool *all, struct err *err)
{
	struct task *t = &e->tasks.v[p->task];
	struct delivery *d = &p->run->delivery[k];
	enum status rc = journal_not_stored(
		e->journal, p->run->id, e->slots[k].id, err);
	bool archived = false;

	if (rc == ST_OK)
		rc = rescue_archived(e, p, k, &archived, err);
	if (rc != ST_OK || archived)
		return rc;
	*all = false;
	if (t->state == TASK_FAILED)
		return ST_OK;
	rescue_advise(e, p, k, &d->err);
	return parcel_failed(e, p, "store", &d->err, err);
}

/*
 * Stored, but where could not be learnt any more: it stays in doubt, so that the next run
 * learns it. Else its copy would be found for an equal message that got lost.
 */
static bool nowhere(const struct engine *e, size_t k, const struct delivery *d)
{
	return e->job->dedup == DEDUP_NONE && e->slots[k].lost && !d->place;
}

static enum status record(struct engine *e, struct parcel *p, struct err *err)
{
	struct task *t = &e->tasks.v[p->task];
	bool all = true, new = false, refused = false;
	enum status rc = ST_OK;
	size_t k;

	if (t->state != TASK_TODO || !p->message)
		return ST_OK; /* decided before */
	for (k = 0; rc == ST_OK && k < e->n_slots; k++) {
		const struct delivery *d = &p->run->delivery[k];

		if (!p->run->need[k]) {
			new |= d->outcome == DELIVERY_STORED;
			continue;
		}
		if (d->outcome == DELIVERY_STORED && nowhere(e, k, d)) {
			all = false;
		} else if (d->outcome == DELIVERY_STORED) {
			new = true;
			rc = rescue_stored(e, p, k, err);
		} else if (d->outcome == DELIVERY_REFUSED) {
			refused = true;
			rc = record_refused(e, p, k, &all, err);
		} else {
			all = false;
		}
	}
	if (rc != ST_OK || !all || t->state != TASK_TODO)
		return rc;
	/* Refused again, while the archive has had it since an earlier run. */
	if (refused && !new) {
		tasks_set(&e->tasks, t, TASK_KNOWN);
		return ST_OK;
	}
	tasks_set(&e->tasks, t, TASK_STORED);
	e->stored_bytes += p->message->facts.size;
	log_debug(&e->log, "message-stored", LOG_U("number", t->number),
		LOG_U("size", p->message->facts.size),
		LOG_S("folder", p->run->verdict.folder));
	return ST_OK;
}

/* What can be journalled is, even when a sink has failed for good. */
static enum status record_all(
	struct engine *e, struct parcel **v, size_t n, struct err *err)
{
	enum status rc = journal_begin(e->journal, err);
	size_t i;

	for (i = 0; rc == ST_OK && i < n; i++)
		rc = record(e, v[i], err);
	return rc == ST_OK ? journal_commit(e->journal, err) : rc;
}

/* ---- a batch ---- */

static enum status prepare_one(
	struct engine *e, struct parcel *p, bool final, bool *deferred, struct err *err)
{
	enum status rc = parcel_prepare(e, p, final, deferred, err);
	size_t k;

	for (k = 0; rc == ST_OK && k < e->n_slots; k++)
		rc = rescue_found(e, p, k, err);
	return rc;
}

/* Moves what must be asked again to the end of v; *live is how many come first. */
static enum status prepare_all(struct engine *e, struct parcel **v, size_t n,
	bool final, size_t *live, struct err *err)
{
	struct parcel **later = xcalloc(n, sizeof(struct parcel *));
	size_t i, now = 0, n_later = 0;
	enum status rc = journal_begin(e->journal, err);

	e->live = v;
	for (i = 0; i < n; i++) {
		bool deferred = false;

		e->n_live = now;
		if (rc == ST_OK)
			rc = prepare_one(e, v[i], final, &deferred, err);
		if (deferred)
			later[n_later++] = v[i];
		else
			v[now++] = v[i];
	}
	e->n_live = now;
	memcpy(v + now, later, n_later * sizeof(struct parcel *));
	free(later);
	*live = now;
	fault_step("intent");
	if (rc == ST_OK)
		return journal_commit(e->journal, err);
	/* What was decided so far is true in any case. */
	if (journal_commit(e->journal, NULL) != ST_OK)
		log_warn(&e->log, "journal-not-written", LOG_S("reason", err->text));
	return rc;
}

static enum status round_trip(
	struct engine *e, struct parcel **v, size_t n, struct err *err)
{
	struct err why[SINKS_MAX] = { ERR_INIT, ERR_INIT };
	enum status put[SINKS_MAX], rc = ST_OK;
	size_t k, bad = 0;

	fault_step("intended");
	/* Both are fed before either is waited for. */
	for (k = 0; k < e->n_slots; k++)
		put[k] = deliver_put(e, k, v, n, &why[k]);
	fault_step("put");
	for (k = 0; k < e->n_slots; k++) {
		enum status done = deliver_settle(e, k, v, n, put[k], &why[k]);

		if (done == ST_OK)
			done = rescue_refused(e, k, v, n, &why[k]);
		e->slots[k].lost = done != ST_OK;
		if (done != ST_OK && rc == ST_OK) {
			rc = done;
			bad = k;
		}
	}
	fault_step("durable");
	if (record_all(e, v, n, err) != ST_OK)
		return err->status;
	fault_step("stored");
	if (rc != ST_OK)
		*err = why[bad];
	return rc;
}

enum status deliver_failed(
	struct engine *e, struct task *t, const struct err *why, struct err *err)
{
	struct parcel p = { .task = (size_t)(t - e->tasks.v) };
	enum status rc = journal_begin(e->journal, err);

	if (rc == ST_OK)
		rc = parcel_failed(e, &p, "retrieve", why, err);
	if (rc == ST_OK)
		rc = journal_commit(e->journal, err);
	if (rc == ST_OK)
		count_done(e, &p, true);
	return rc;
}

enum status deliver_batch(
	struct engine *e, struct parcel **batch, size_t n, struct err *err)
{
	enum status rc = ST_OK;
	struct parcel **v = batch;
	size_t left = n, live, i;
	bool final = false;

	for (i = 0; i < n; i++)
		batch[i]->run = xcalloc(1, sizeof(struct errand));
	while (rc == ST_OK && left) {
		rc = prepare_all(e, v, left, final, &live, err);
		if (rc == ST_OK)
			rc = round_trip(e, v, live, err);
		if (rc != ST_OK)
			break;
		v += live;
		left -= live;
		/* What they wait for is in no batch of ours: no use in waiting on. */
		final = live == 0;
	}
	e->n_live = 0;
	for (i = 0; i < n; i++) {
		enum task_state st = (enum task_state)e->tasks.v[batch[i]->task].state;

		if (st != TASK_TODO)
			count_done(e, batch[i], st == TASK_FAILED);
		parcel_free(batch[i]);
	}
	return rc;
}
