/*
 * deliver.c: one batch of messages through journal, sinks, journal.
 *
 *	judge, find duplicates        -> what each sink still needs
 *	journal  STORING with floors     one sync
 *	put to every sink, commit        the sinks' own syncs
 *	journal  STORED with receipts    one sync
 *
 * A sink that is lost on the way is opened anew and asked, message by
 * message, what got through: the same road as after a crash.
 */
#include <popferry/clock.h>
#include <popferry/fault.h>
#include <popferry/mem.h>

#include "engine_p.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- slots: a sink and its session -------------------------------------------- */

void slot_close(struct engine *e, struct slot *s)
{
	size_t i;

	pthread_mutex_lock(&e->lock);
	e->cancel_sink[s - e->slots] = NULL;
	pthread_mutex_unlock(&e->lock);
	if (s->sink)
		s->ops->close(&s->sink);
	for (i = 0; i < s->n_claimed; i++)
		free(s->claimed[i]);
	free(s->claimed);
	s->claimed = NULL;
	s->n_claimed = 0;
}

enum status slot_open(struct engine *e, struct slot *s, struct err *err)
{
	struct sink_setup setup = { s->end, e->job, e->account, s->password, e->trace,
		&e->log, s->cautious };
	enum status rc;

	if (s->sink)
		return ST_OK;
	rc = s->ops->open(&s->sink, &setup, err);
	if (rc != ST_OK) {
		s->sink = NULL;
		return rc;
	}
	pthread_mutex_lock(&e->lock);
	e->cancel_sink[s - e->slots] = s->sink;
	pthread_mutex_unlock(&e->lock);
	return ST_OK;
}

/*
 * After ST_RETRY: closes, waits and opens anew. ST_OK: go on. Otherwise the
 * reason why not, in err; never ST_RETRY, for to fetch the mail again is no cure.
 */
static enum status slot_again(struct engine *e, struct slot *s, struct err *err)
{
	int asked = s->sink ? s->ops->wait_ms(s->sink) : 0;
	enum status rc = ST_RETRY;

	while (rc == ST_RETRY) {
		slot_close(e, s);
		if (atomic_load(&e->stop))
			return engine_stopped(err);
		if (++s->attempts > ATTEMPTS)
			return err->status = ST_DENIED;
		engine_backoff(e, s->attempts, asked, err, s->end->scheme);
		asked = 0;
		rc = slot_open(e, s, err);
	}
	return rc;
}

struct telling {
	struct slot *slot;
	const char *folder;
};

static void tell(void *ctx, const struct place *at)
{
	struct telling *t = ctx;

	t->slot->ops->claim(t->slot->sink, t->folder, at->generation, at->number);
}

/* Once a session and folder: what the journal knows must not be found again. */
static enum status tell_known(
	struct engine *e, struct slot *s, const char *folder, struct err *err)
{
	struct telling t = { s, folder };
	size_t i;

	for (i = 0; i < s->n_claimed; i++)
		if (strcmp(s->claimed[i], folder) == 0)
			return ST_OK;
	s->claimed = xreallocarray(s->claimed, s->n_claimed + 1, sizeof(char *));
	s->claimed[s->n_claimed++] = xstrdup(folder);
	return journal_places(e->journal, s->id, folder, tell, &t, err);
}

/* ---- before: what is needed where ------------------------------------------------ */

static void fill_delivery(struct engine *e, struct parcel *p, size_t k)
{
	const struct task *t = &e->tasks.v[p->task];
	struct journal_key key;

	tasks_key(&e->tasks, t, &key);
	p->run->delivery[k] = (struct delivery){
		.message = p->message,
		.folder = p->run->verdict.folder,
		.date = p->run->verdict.date,
		.seen = p->run->verdict.seen,
		.answered = p->run->verdict.answered,
		.flagged = p->run->verdict.flagged,
		.draft = p->run->verdict.draft,
		.uidl = key.uidl,
		.uidl_n = key.uidl_n,
		.occurrence = t->occurrence,
		.number = t->number,
		.listed_size = t->size,
		.retrieved = p->retrieved,
		.err = ERR_INIT,
	};
}

static int64_t settle_ms(const struct engine *e, const struct slot *s)
{
	if (s->end->imap.settle)
		return (int64_t)s->end->imap.settle * 1000;
	return e->pace.settle_ms;
}

/* From where to look for it in slot k, or not at all. */
static enum status decide_look(struct engine *e, struct parcel *p, size_t k,
	bool doubtful, struct sink_floor *floor, struct err *err)
{
	struct slot *s = &e->slots[k];
	struct place from = { 0, 0 };
	char *folder = NULL;
	int64_t since = 0;
	enum status rc;

	if (doubtful) {
		rc = journal_doubt(
			e->journal, p->run->id, s->id, &from, &folder, &since, err);
		if (rc < 0)
			return rc;
		/* Rules may have changed since: it is looked for where it went. */
		if (rc == ST_OK)
			snprintf(p->run->verdict.folder, sizeof(p->run->verdict.folder),
				"%s", folder);
		free(folder);
		p->run->look[k] = rc == ST_OK;
		p->run->from[k] = (struct sink_floor){ from.generation, from.number,
			false };
		/* Not from `since`: the run before may have put it and died just now. */
		p->run->patience[k] = e->began_ms + settle_ms(e, s);
		if (rc == ST_OK)
			return s->ops->floor(
				s->sink, p->run->verdict.folder, floor, err);
	}
	rc = s->ops->floor(s->sink, p->run->verdict.folder, floor, err);
	if (rc != ST_OK)
		return rc;
	p->run->look[k] = !s->settled && !floor->empty;
	p->run->from[k] = (struct sink_floor){ 0, 1, false };
	p->run->patience[k] = 0;
	return ST_OK;
}

/* ST_OK: found, ST_END: not there. */
static enum status look_for(
	struct engine *e, struct parcel *p, size_t k, struct err *err)
{
	struct slot *s = &e->slots[k];
	int64_t left = p->run->patience[k] - clock_ms();
	enum status rc = tell_known(e, s, p->run->verdict.folder, err);

	if (rc != ST_OK)
		return rc;
	return s->ops->find(s->sink, &p->run->delivery[k], &p->run->from[k],
		left > 0 && p->run->patience[k] ? left : 0, err);
}

static enum status note_stored(
	struct engine *e, struct parcel *p, size_t k, struct err *err)
{
	const struct delivery *d = &p->run->delivery[k];
	struct place at = { d->generation, d->place };
	unsigned char wire[DIGEST];
	int64_t holder;
	enum status rc = ST_END;

	if (at.number)
		rc = journal_holder(
			e->journal, p->run->id, e->slots[k].id, &at, &holder, err);
	if (rc < 0)
		return rc;
	/* A server that gives a UID twice must not end the job (quirk Q114). */
	if (rc == ST_OK) {
		log_warn(&e->log, "place-given-twice",
			LOG_S("folder", p->run->verdict.folder),
			LOG_U("place", at.number));
		at.number = 0;
	}
	rc = ST_OK;
	if (d->altered)
		rc = wire_digest(p->message, wire, err);
	if (rc == ST_OK)
		rc = journal_stored(e->journal, p->run->id, e->slots[k].id, &at,
			d->altered ? wire : NULL, err);
	return rc;
}

/* Slot k has not stored this message yet: is it there, or must it be put? */
static enum status place_one(
	struct engine *e, struct parcel *p, size_t k, bool doubtful, struct err *err)
{
	struct slot *s = &e->slots[k];
	struct sink_floor floor = { 0, 0, false };
	struct place at;
	enum status rc;

	for (;;) {
		rc = slot_open(e, s, err);
		if (rc == ST_OK)
			rc = decide_look(e, p, k, doubtful, &floor, err);
		if (rc == ST_OK) {
			fill_delivery(e, p, k);
			rc = p->run->look[k] ? look_for(e, p, k, err) : ST_END;
		}
		if (rc != ST_RETRY)
			break;
		rc = slot_again(e, s, err);
		if (rc != ST_OK)
			break;
	}
	if (rc < 0)
		return rc;
	at = (struct place){ floor.generation, floor.next };
	p->run->need[k] = rc == ST_END;
	p->run->look[k] = false;
	/* Should it be put and then be in doubt, it can only be from here on. */
	if (!doubtful)
		p->run->from[k] = floor;
	rc = journal_storing(e->journal, p->run->id, s->id, p->run->verdict.folder, &at,
		clock_utc(), err);
	if (rc == ST_OK && !p->run->need[k])
		rc = note_stored(e, p, k, err);
	return rc;
}

/* The journal's row for this very content, if it has one. */
static enum status find_row(
	struct engine *e, struct parcel *p, struct journal_row *row, struct err *err)
{
	const struct facts *f = &p->message->facts;
	struct journal_key key;
	enum status rc;

	tasks_key(&e->tasks, &e->tasks.v[p->task], &key);
	if (key.uidl)
		rc = journal_find(
			e->journal, key.uidl, key.uidl_n, key.occurrence, row, err);
	else
		rc = journal_find_content(
			e->journal, f->sha256, nameless_seen(e, f->sha256), row, err);
	if (rc != ST_OK)
		return rc;
	if (!row->has_content)
		return ST_END;
	/* Servers rewrite Status and the like between sessions (quirk Q39). */
	if (memcmp(row->sha256, f->sha256, DIGEST) != 0 &&
		memcmp(row->exact, f->exact, DIGEST) != 0)
		return ST_END;
	p->run->id = row->id;
	return ST_OK;
}

static enum status mark_failed(struct engine *e, struct parcel *p, const char *stage,
	const struct err *why, struct err *err)
{
	struct task *t = &e->tasks.v[p->task];
	struct journal_key key;

	tasks_key(&e->tasks, t, &key);
	key.row = p->run ? p->run->id : 0;
	tasks_set(&e->tasks, t, TASK_FAILED);
	log_warn(&e->log, "message-failed", LOG_U("number", t->number),
		LOG_B("uidl", key.uidl, key.uidl_n), LOG_S("stage", stage),
		LOG_S("reason", why->text));
	return journal_failed(e->journal, &key, t->number,
		p->message ? &p->message->facts : NULL, stage, why, err);
}

static enum status take(struct engine *e, struct parcel *p, struct err *err)
{
	struct journal_key key;

	tasks_key(&e->tasks, &e->tasks.v[p->task], &key);
	key.row = p->run->id;
	return journal_take(e->journal, &key, &p->message->facts,
		p->run->verdict.date.known ? p->run->verdict.date.utc : 0, &p->run->id,
		err);
}

static void tell_collision(struct engine *e, const struct parcel *p)
{
	e->collisions++;
	log_warn(&e->log, "id-collision", LOG_U("number", e->tasks.v[p->task].number),
		LOG_S("message-id", p->message->facts.message_id),
		LOG_S("kept", "both: same Message-ID, different content"));
}

/* Filtered or a duplicate: then it is done. *deferred: ask again later. */
static enum status dismiss(struct engine *e, struct parcel *p, bool final, bool *done,
	bool *deferred, struct err *err)
{
	struct task *t = &e->tasks.v[p->task];
	const char *rule = NULL;
	enum twin twin;
	int64_t of = 0;
	enum status rc;

	*done = *deferred = false;
	if (p->run->verdict.filtered) {
		*done = true;
		tasks_set(&e->tasks, t, TASK_FILTERED);
		rc = take(e, p, err);
		return rc == ST_OK ? journal_filtered(e->journal, p->run->id,
					     p->run->verdict.rule, err)
				   : rc;
	}
	rc = dedup_ask(e, &p->message->facts, &twin, &of, &rule, err);
	if (rc != ST_OK)
		return rc;
	if (twin == TWIN_MOVING && !final) {
		*deferred = true;
		return ST_OK;
	}
	if (twin == TWIN_COLLISION)
		tell_collision(e, p);
	if (twin != TWIN_STORED)
		return ST_OK;
	*done = true;
	tasks_set(&e->tasks, t, TASK_DUPLICATE);
	if (e->job->dedup == DEDUP_MESSAGE_ID_ONLY)
		log_warn(&e->log, "dropped-by-message-id", LOG_U("number", t->number),
			LOG_S("message-id", p->message->facts.message_id));
	rc = take(e, p, err);
	return rc == ST_OK ? journal_duplicate(e->journal, p->run->id, of, rule, err)
			   : rc;
}

/* All that is decided before anything is promised for one message. */
static enum status prepare(
	struct engine *e, struct parcel *p, bool final, bool *deferred, struct err *err)
{
	struct task *t = &e->tasks.v[p->task];
	struct journal_row row = { 0 };
	enum status rc, have;
	bool done;
	size_t k;

	*deferred = false;
	if (!p->message)
		return mark_failed(e, p, "retrieve", p->why, err);
	judge(e->job, p->message, t->size, clock_utc(), &p->run->verdict);
	have = find_row(e, p, &row, err);
	if (have < 0)
		return have;
	if (have == ST_OK && row.state == J_TAKEN &&
		(row.stored & e->mask) == e->mask) {
		tasks_set(&e->tasks, t, TASK_KNOWN);
		nameless_count(e, p);
		return journal_resize(e->journal, row.id, t->size, err);
	}
	if (have == ST_END || !((row.stored | row.storing) & e->mask)) {
		rc = dismiss(e, p, final, &done, deferred, err);
		if (rc != ST_OK || done || *deferred) {
			if (done)
				nameless_count(e, p);
			return rc;
		}
	}
	rc = take(e, p, err);
	nameless_count(e, p);
	for (k = 0; rc == ST_OK && k < e->n_slots; k++) {
		unsigned bit = 1u << e->slots[k].id;

		if (have == ST_OK && (row.stored & bit))
			continue;
		rc = place_one(e, p, k, have == ST_OK && (row.storing & bit), err);
	}
	return rc;
}

/* ---- put and commit
 * ------------------------------------------------------------------ */

/*
 * Where a sink has what it stored without saying where. Only needed where equal
 * messages are kept, for there one must not be taken for the other.
 */
static enum status learn_places(
	struct engine *e, size_t k, struct parcel **v, size_t n, struct err *err)
{
	struct slot *s = &e->slots[k];
	enum status rc = ST_OK;
	size_t i;

	if (e->job->dedup != DEDUP_NONE)
		return ST_OK;
	for (i = 0; i < n; i++) {
		const struct delivery *d = &v[i]->run->delivery[k];

		if (!v[i]->run->need[k] || d->outcome != DELIVERY_STORED || d->place)
			continue;
		rc = slot_open(e, s, err);
		if (rc == ST_OK) {
			v[i]->run->patience[k] = clock_ms() + 1;
			rc = look_for(e, v[i], k, err);
		}
		if (rc < 0)
			return rc;
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
			s->ops->claim(s->sink, d->folder, d->generation, d->place);
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
		rc = look_for(e, p, k, err);
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

static enum status put_all(
	struct engine *e, size_t k, struct parcel **v, size_t n, struct err *err)
{
	enum status rc = slot_open(e, &e->slots[k], err);
	size_t i;

	if (rc == ST_OK && e->slots[k].losses)
		claim_stored(e, k, v, n);
	if (rc == ST_OK)
		rc = learn_places(e, k, v, n, err);
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
		const struct delivery *d = &v[i]->run->delivery[k];

		if (!v[i]->run->need[k])
			continue;
		stored += d->outcome == DELIVERY_STORED;
		if (d->outcome == DELIVERY_PENDING && v[i]->run->sent[k]) {
			v[i]->run->look[k] = true;
			v[i]->run->patience[k] = clock_ms() + settle_ms(e, s);
			last = v[i];
			flying++;
		}
		v[i]->run->sent[k] = false;
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

/* Until no message is pending in slot k. */
static enum status settle_slot(struct engine *e, size_t k, struct parcel **v, size_t n,
	enum status rc, struct err *err)
{
	struct slot *s = &e->slots[k];

	for (;;) {
		if (rc == ST_OK)
			rc = s->ops->commit(s->sink, err);
		if (rc == ST_OK)
			rc = learn_places(e, k, v, n, err);
		if (rc == ST_OK)
			break;
		if (rc != ST_RETRY)
			return rc;
		doubt_all(e, k, v, n);
		rc = slot_again(e, s, err);
		if (rc != ST_OK)
			return rc;
		rc = put_all(e, k, v, n, err);
	}
	s->attempts = s->losses = 0;
	s->stored = 0;
	if (s->cautious) { /* that batch is through: full speed again */
		s->cautious = false;
		slot_close(e, s);
	}
	return ST_OK;
}

/* ---- after: what became of it
 * ---------------------------------------------------------- */

static void count_done(struct engine *e, const struct parcel *p, bool failed)
{
	pthread_mutex_lock(&e->lock);
	e->progress.done++;
	e->progress.failed += failed;
	if (p->message)
		e->progress.done_bytes += p->message->facts.size;
	pthread_mutex_unlock(&e->lock);
}

static enum status record(struct engine *e, struct parcel *p, struct err *err)
{
	struct task *t = &e->tasks.v[p->task];
	enum status rc = ST_OK;
	bool all = true;
	size_t k;

	if (t->state != TASK_TODO || !p->message)
		return ST_OK; /* decided before */
	for (k = 0; rc == ST_OK && k < e->n_slots; k++) {
		struct delivery *d = &p->run->delivery[k];

		if (!p->run->need[k])
			continue;
		if (d->outcome == DELIVERY_STORED) {
			rc = note_stored(e, p, k, err);
		} else if (d->outcome == DELIVERY_REFUSED) {
			rc = journal_not_stored(
				e->journal, p->run->id, e->slots[k].id, err);
			if (rc == ST_OK && t->state != TASK_FAILED)
				rc = mark_failed(e, p, "store", &d->err, err);
			all = false;
		} else {
			all = false;
		}
	}
	if (rc == ST_OK && all && t->state == TASK_TODO) {
		tasks_set(&e->tasks, t, TASK_STORED);
		e->stored_bytes += p->message->facts.size;
		log_debug(&e->log, "message-stored", LOG_U("number", t->number),
			LOG_U("size", p->message->facts.size),
			LOG_S("folder", p->run->verdict.folder));
	}
	return rc;
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

/* ---- a batch
 * ------------------------------------------------------------------------------ */

/* Moves what must be asked again to the end of v; *live is how many come first. */
static enum status prepare_all(struct engine *e, struct parcel **v, size_t n,
	bool final, size_t *live, struct err *err)
{
	struct parcel **later = xcalloc(n, sizeof(struct parcel *));
	size_t i, now = 0, n_later = 0;
	enum status rc = journal_begin(e->journal, err);

	for (i = 0; i < n; i++) {
		bool deferred = false;

		if (rc == ST_OK)
			rc = prepare(e, v[i], final, &deferred, err);
		if (deferred)
			later[n_later++] = v[i];
		else
			v[now++] = v[i];
	}
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
		put[k] = put_all(e, k, v, n, &why[k]);
	fault_step("put");
	for (k = 0; k < e->n_slots; k++) {
		enum status done = settle_slot(e, k, v, n, put[k], &why[k]);

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
		rc = mark_failed(e, &p, "retrieve", why, err);
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
	for (i = 0; i < n; i++) {
		enum task_state st = (enum task_state)e->tasks.v[batch[i]->task].state;

		if (st != TASK_TODO)
			count_done(e, batch[i], st == TASK_FAILED);
		parcel_free(batch[i]);
	}
	return rc;
}
