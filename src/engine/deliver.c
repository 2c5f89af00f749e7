/*
 * deliver.c: batches of messages through journal, sinks, journal.
 *
 *	prepare.c: judge, find duplicates    -> what each sink still needs
 *	journal  STORING with floors            one sync
 *	put to every sink
 *	   (more batches may follow here, so that no destination waits for us)
 *	await the oldest                        the sinks' own syncs
 *	journal  STORED with receipts           one sync
 *
 * What a server refuses may go up in another form: rescue.c. How one destination gets
 * its part, and what is done when it is lost on the way: settle.c.
 */
#include <popferry/clock.h>
#include <popferry/fault.h>
#include <popferry/mem.h>

#include "engine_p.h"

#include <stdlib.h>
#include <string.h>

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
	rescue_advise(e, p, k, d->err);
	return parcel_failed(e, p, "store", d->err, err);
}

/*
 * Stored, but where could not be learnt any more: it stays in doubt, so that the next
 * run learns it. Else its copy would be found for an equal message that got lost. And
 * where the server should have said it there may be none.
 */
static bool nowhere(const struct engine *e, size_t k, const struct delivery *d)
{
	return (e->job->dedup == DEDUP_NONE || d->unsaid) && e->slots[k].lost &&
		!d->place;
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

		if (k == e->recorder && d->outcome == DELIVERY_STORED)
			tasks_place(&e->tasks, t, d->place);
		if (!p->run->need[k]) {
			new |= d->outcome == DELIVERY_STORED;
			continue;
		}
		if (d->outcome == DELIVERY_STORED && nowhere(e, k, d)) {
			all = false;
		} else if (d->outcome == DELIVERY_STORED) {
			new = true;
			e->slots[k].poisoned = 0;
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

/*
 * What can be journalled is, even when a sink has failed for good. While more is under
 * way no sync is waited for: the next batch brings it, and should the power fail
 * before, these are in doubt, and found.
 */
static enum status record_all(
	struct engine *e, struct parcel **v, size_t n, struct err *err)
{
	enum status rc = n < e->n_live ? journal_begin_lazy(e->journal, err)
				       : journal_begin(e->journal, err);
	size_t i;

	for (i = 0; rc == ST_OK && i < n; i++)
		rc = record(e, v[i], err);
	return rc == ST_OK ? journal_commit(e->journal, err) : rc;
}

/* ---- the oldest batch is settled ---- */

/* More than a wait for its turn: all that is under way is settled with it. */
static bool needs_care(const struct engine *e, size_t k, size_t n)
{
	bool forms = e->job->rescue & (JOB_REPAIR | JOB_WRAP);
	size_t i;

	for (i = 0; i < n; i++) {
		const struct delivery *d = &e->live[i]->run->delivery[k];

		if (!e->live[i]->run->need[k])
			continue;
		if (d->outcome == DELIVERY_PENDING || d->unsaid ||
			(d->outcome == DELIVERY_STORED && !d->place &&
				e->job->dedup == DEDUP_NONE) ||
			(d->outcome == DELIVERY_REFUSED && forms &&
				d->cause == REFUSED_CONTENT))
			return true;
	}
	return false;
}

/* Waits for the first n; false: that is not enough, and slot k's put says why. */
static bool await(struct engine *e, size_t k, size_t n)
{
	struct slot *s = &e->slots[k];
	bool any = false;
	size_t i;

	if (s->put != ST_OK || s->shaken)
		return false;
	/* From the last on: what it takes to be sure of that does for all before. */
	for (i = n; s->put == ST_OK && i-- > 0;) {
		const struct errand *r = e->live[i]->run;

		any |= r->need[k];
		if (r->need[k] && r->delivery[k].outcome == DELIVERY_PENDING)
			s->put = s->ops->await(s->sink, &r->delivery[k], &s->why);
	}
	if (s->put != ST_OK || needs_care(e, k, n))
		return false;
	if (any)
		deliver_eased(e, s);
	return true;
}

static bool used(const struct engine *e, size_t k)
{
	size_t i;

	for (i = 0; i < e->n_live; i++)
		if (e->live[i]->run->need[k])
			return true;
	return false;
}

/* All that is under way, in every slot; the first error is the run's. */
static enum status settle_all(struct engine *e, struct err *err)
{
	enum status rc = ST_OK, done;
	size_t k;

	for (k = 0; k < e->n_slots; k++) {
		struct slot *s = &e->slots[k];

		if (!used(e, k))
			continue;
		if (s->shaken && s->put == ST_OK)
			s->put = deliver_put(e, k, e->live, e->n_live, &s->why);
		done = deliver_settle(e, k, s->put, &s->why);
		if (done == ST_OK)
			done = rescue_refused(e, k, e->live, e->n_live, &s->why);
		s->put = ST_OK;
		s->shaken = false;
		s->lost = done != ST_OK;
		if (done != ST_OK && rc == ST_OK) {
			rc = done;
			*err = s->why;
		}
	}
	return rc;
}

static void done_with(struct engine *e, struct parcel *p)
{
	enum task_state st = (enum task_state)e->tasks.v[p->task].state;

	if (st != TASK_TODO)
		count_done(e, p, st == TASK_FAILED);
	parcel_free(p);
}

/* The first n, which are whole batches, are over. */
static void drop_first(struct engine *e, size_t n)
{
	size_t i, k;

	for (i = 0; i < n; i++)
		done_with(e, e->live[i]);
	e->n_live -= n;
	memmove(e->live, e->live + n, e->n_live * sizeof(struct parcel *));
	for (k = 0; n; k++)
		n -= e->batch[k];
	e->n_batches -= k;
	memmove(e->batch, e->batch + k, e->n_batches * sizeof(e->batch[0]));
}

bool deliver_sheds(const struct engine *e)
{
	size_t k;

	for (k = 0; k < e->n_slots; k++)
		if (!e->slots[k].ops->swallows)
			return false;
	return true;
}

uint64_t deliver_most(const struct engine *e)
{
	return deliver_sheds(e) ? BATCH_SHED : BATCH_BYTES;
}

/* So large that a kill costs little and a sync counts little. */
static void find_pace(struct engine *e)
{
	int64_t now = clock_ms(), took = now - e->landed_ms;

	if (took > BATCH_SLOW_MS && e->batch_bytes > BATCH_LEAST)
		e->batch_bytes /= 2;
	else if (took < BATCH_FAST_MS && e->batch_bytes < deliver_most(e))
		e->batch_bytes *= 2;
	e->landed_ms = now;
}

/*
 * What is settled next: the oldest batch, so that the destination is never idle. Where
 * what waits takes no memory, all but the newest: the same syncs do for all of them.
 */
static size_t next_to_settle(const struct engine *e)
{
	if (!e->n_live)
		return 0;
	if (e->n_batches > 1 && deliver_sheds(e))
		return e->n_live - e->batch[e->n_batches - 1];
	return e->batch[0];
}

enum status deliver_oldest(struct engine *e, struct err *err)
{
	size_t n = next_to_settle(e), k;
	struct err why = ERR_INIT;
	enum status rc = ST_OK, done;
	bool all = false;

	if (!n)
		return ST_OK;
	for (k = 0; k < e->n_slots; k++)
		all |= !await(e, k, n);
	if (all) {
		n = e->n_live;
		rc = settle_all(e, err);
	}
	fault_step("durable");
	done = record_all(e, e->live, n, rc == ST_OK ? err : &why);
	fault_step("stored");
	drop_first(e, n);
	find_pace(e);
	return rc == ST_OK ? done : rc;
}

/* The run fails: what is safe all the same is recorded, the rest is in doubt. */
static void salvage(struct engine *e)
{
	struct err err = ERR_INIT;
	size_t k, n = 0;

	/* Not those that were being prepared: nobody has put them. */
	for (k = 0; k < e->n_batches; k++)
		n += e->batch[k];
	if (!n)
		return;
	for (k = 0; k < e->n_slots; k++) {
		struct slot *s = &e->slots[k];

		if (s->sink && s->put == ST_OK && !s->shaken)
			s->ops->commit(s->sink, &err);
		s->lost = true;
	}
	if (record_all(e, e->live, n, &err) != ST_OK)
		log_warn(&e->log, "journal-not-written", LOG_S("reason", err.text));
}

/* ---- a new batch ---- */

static enum status prepare_one(
	struct engine *e, struct parcel *p, bool final, bool *deferred, struct err *err)
{
	enum status rc = parcel_prepare(e, p, final, deferred, err);
	size_t k;

	for (k = 0; rc == ST_OK && k < e->n_slots; k++)
		rc = rescue_found(e, p, k, err);
	return rc;
}

static void push(struct parcel ***v, size_t *n, size_t *cap, struct parcel *p)
{
	if (*n == *cap) {
		*cap = *cap ? 2 * *cap : BATCH_COUNT;
		*v = xreallocarray(*v, *cap, sizeof(struct parcel *));
	}
	(*v)[(*n)++] = p;
}

/* v is to be delivered next; what must wait for what is under way is kept for later. */
static enum status prepare_all(
	struct engine *e, struct parcel **v, size_t n, bool final, struct err *err)
{
	/* Who swallows them all has it synced before any is durable. */
	enum status rc = deliver_sheds(e) ? journal_begin_lazy(e->journal, err)
					  : journal_begin(e->journal, err);
	size_t i;

	for (i = 0; i < n; i++) {
		bool deferred = false;

		if (rc == ST_OK)
			rc = prepare_one(e, v[i], final, &deferred, err);
		/* Until then all may be otherwise. */
		if (deferred)
			*v[i]->run = (struct errand){ .id = 0 };
		if (deferred)
			push(&e->later, &e->n_later, &e->cap_later, v[i]);
		else
			push(&e->live, &e->n_live, &e->cap_live, v[i]);
	}
	fault_step("intent");
	if (rc == ST_OK)
		return journal_commit(e->journal, err);
	/* What was decided so far is true in any case. */
	if (journal_commit(e->journal, NULL) != ST_OK)
		log_warn(&e->log, "journal-not-written", LOG_S("reason", err->text));
	return rc;
}

/* What was decided at once is not under way: it holds no memory. */
static void drop_decided(struct engine *e, size_t from)
{
	size_t i, n = from;

	for (i = from; i < e->n_live; i++) {
		struct parcel *p = e->live[i];

		if (e->tasks.v[p->task].state == TASK_TODO && p->message)
			e->live[n++] = p;
		else
			done_with(e, p);
	}
	e->n_live = n;
}

static bool has_it(const struct slot *s, const struct delivery *d)
{
	return s->ops->swallows && s->put == ST_OK && d->outcome != DELIVERY_REFUSED;
}

/* Where all have it its text is needed no more: what waits to be durable is small. */
static void shed(struct engine *e, struct parcel *p)
{
	size_t k;

	for (k = 0; k < e->n_slots; k++)
		if (p->run->need[k] && !has_it(&e->slots[k], &p->run->delivery[k]))
			return;
	message_shed(p->message);
}

/* Those from live[from] on go out. */
static void launch(struct engine *e, size_t from)
{
	size_t k, i;

	fault_step("intended");
	for (k = 0; k < e->n_slots; k++) {
		struct slot *s = &e->slots[k];
		bool any = false;

		for (i = from; i < e->n_live; i++)
			any |= e->live[i]->run->need[k];
		if (any && s->put == ST_OK && !s->shaken)
			s->put = deliver_put(
				e, k, e->live + from, e->n_live - from, &s->why);
	}
	for (i = from; i < e->n_live; i++)
		shed(e, e->live[i]);
	fault_step("put");
}

int deliver_rtt_ms(const struct engine *e)
{
	int most = 0, ms;
	size_t k;

	for (k = 0; k < e->n_slots; k++) {
		const struct slot *s = &e->slots[k];

		ms = s->sink && s->ops->rtt_ms ? s->ops->rtt_ms(s->sink) : 0;
		most = ms > most ? ms : most;
	}
	return most;
}

/* How much memory may be under way, so that no destination is idle. */
static uint64_t flight_bytes(const struct engine *e)
{
	uint64_t want;

	if (deliver_sheds(e))
		return FLIGHT_SHED;
	want = FLIGHT_NEAR + FLIGHT_MS * (uint64_t)deliver_rtt_ms(e);
	return want < FLIGHT_FAR ? want : FLIGHT_FAR;
}

static bool is_enough(const struct engine *e)
{
	uint64_t held = 0, bytes = 0;
	size_t i, k;

	for (k = 0; k < e->n_slots; k++)
		if (e->slots[k].put != ST_OK || e->slots[k].shaken)
			return true;
	for (i = 0; i < e->n_live; i++) {
		const struct message *m = e->live[i]->message;

		held += PARCEL_BYTES + (m->body ? m->facts.size : 0);
		bytes += m->facts.size;
	}
	/* While one is recorded the destination has another to work on. */
	return e->n_batches == BATCHES_MAX ||
		(!e->pace.batch_count && e->n_batches > 1 &&
			(held >= flight_bytes(e) || bytes >= FLIGHT_FAR));
}

/* Takes v over. *any: something of it is under way now. */
static enum status begin(struct engine *e, struct parcel **v, size_t n, bool final,
	bool *any, struct err *err)
{
	size_t from = e->n_live;
	enum status rc = prepare_all(e, v, n, final, err);

	*any = false;
	if (rc != ST_OK)
		return rc;
	drop_decided(e, from);
	*any = e->n_live > from;
	if (!*any)
		return ST_OK;
	if (!from)
		e->landed_ms = clock_ms();
	e->batch[e->n_batches++] = e->n_live - from;
	launch(e, from);
	return ST_OK;
}

/* Those that wait, once more. */
static enum status begin_later(struct engine *e, bool final, bool *any, struct err *err)
{
	struct parcel **v = e->later;
	size_t n = e->n_later;
	enum status rc;

	e->later = NULL;
	e->n_later = e->cap_later = 0;
	rc = begin(e, v, n, final, any, err);
	free(v);
	return rc;
}

enum status deliver_batch(
	struct engine *e, struct parcel **batch, size_t n, struct err *err)
{
	enum status rc;
	bool any;
	size_t i;

	for (i = 0; i < n; i++)
		batch[i]->run = xcalloc(1, sizeof(struct errand));
	rc = begin(e, batch, n, false, &any, err);
	while (rc == ST_OK && e->n_live && is_enough(e))
		rc = deliver_oldest(e, err);
	/* They hold memory. */
	if (rc == ST_OK && e->n_later >= LATER_MAX)
		rc = deliver_rest(e, err);
	return rc;
}

enum status deliver_rest(struct engine *e, struct err *err)
{
	enum status rc = ST_OK;
	bool any, final = false;

	for (;;) {
		while (rc == ST_OK && e->n_live)
			rc = deliver_oldest(e, err);
		if (rc != ST_OK || !e->n_later)
			return rc;
		rc = begin_later(e, final, &any, err);
		/* What they wait for is in no batch of ours: no use in waiting on. */
		final = !any;
	}
}

void deliver_drop(struct engine *e)
{
	size_t i, k;

	salvage(e);
	for (k = 0; k < e->n_slots; k++) {
		e->slots[k].put = ST_OK;
		e->slots[k].shaken = e->slots[k].lost = false;
	}
	for (i = 0; i < e->n_live; i++)
		done_with(e, e->live[i]);
	for (i = 0; i < e->n_later; i++)
		parcel_free(e->later[i]);
	free(e->live);
	free(e->later);
	e->live = e->later = NULL;
	e->n_live = e->cap_live = e->n_later = e->cap_later = e->n_batches = 0;
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
