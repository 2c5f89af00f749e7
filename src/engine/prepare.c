/*
 * prepare.c: what is decided about a message before anything is promised.
 *
 * Is it filtered, a duplicate, of what known.c finds? Which sink still needs it, and
 * from where is it to be looked for, should that put be in doubt one day?
 */
#include <popferry/clock.h>
#include <popferry/mem.h>

#include "engine_p.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fill_delivery(struct engine *e, struct parcel *p, size_t k)
{
	const struct task *t = &e->tasks.v[p->task];
	const struct origin *o = p->origin && !p->origin->bare ? p->origin : NULL;
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
		.uidl = o ? o->uidl : key.uidl,
		.uidl_n = o ? o->uidl_n : key.uidl_n,
		.occurrence = o ? o->occurrence : t->occurrence,
		.number = o ? o->number : t->number,
		.listed_size = o ? o->listed_size : t->size,
		.retrieved = o ? o->retrieved : p->retrieved,
	};
}

/* Was there something in the folder before this run? */
static void begin_folder(
	struct slot *s, const char *folder, const struct sink_floor *at)
{
	size_t i;

	if (s->settled || s->strange)
		return;
	for (i = 0; i < s->n_begun; i++)
		if (strcmp(s->begun[i], folder) == 0)
			return;
	s->begun = xreallocarray(s->begun, s->n_begun + 1, sizeof(char *));
	s->begun[s->n_begun++] = xstrdup(folder);
	s->strange = !at->empty;
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
			p->run->verdict.folder = engine_name(e, folder);
		free(folder);
		p->run->look[k] = rc == ST_OK;
		p->run->from[k] = (struct sink_floor){ from.generation, from.number,
			false };
		/* Not from `since`: the run before may have put it and died just
		 * now. */
		p->run->patience[k] = e->began_ms + slot_settle_ms(e, s);
		if (rc == ST_OK)
			return s->ops->floor(
				s->sink, p->run->verdict.folder, floor, err);
	}
	rc = s->ops->floor(s->sink, p->run->verdict.folder, floor, err);
	if (rc != ST_OK)
		return rc;
	begin_folder(s, p->run->verdict.folder, floor);
	/* A twin of one in doubt: that one may still be on its way into the folder. */
	p->run->look[k] = p->run->doubted ||
		((!s->settled || e->visits.grown) && !floor->empty);
	p->run->from[k] = (struct sink_floor){ 0, 1, false };
	p->run->patience[k] = p->run->doubted ? e->began_ms + slot_settle_ms(e, s) : 0;
	return ST_OK;
}

/* ST_OK: found, ST_END: not there. */
enum status parcel_look(struct engine *e, struct parcel *p, size_t k, struct err *err)
{
	struct slot *s = &e->slots[k];
	enum status rc = slot_tell(e, s, p->run->verdict.folder, err);

	if (rc != ST_OK)
		return rc;
	return s->ops->find(s->sink, &p->run->delivery[k], &p->run->from[k],
		p->run->patience[k], err);
}

enum status parcel_stored(struct engine *e, struct parcel *p, size_t k, struct err *err)
{
	const struct delivery *d = &p->run->delivery[k];
	struct place at = { d->generation, d->place };
	const unsigned char *sent = d->form ? d->wire : NULL;
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
	if (d->altered && !d->form) {
		rc = wire_digest(p->message, wire, err);
		sent = wire;
	}
	if (rc == ST_OK)
		rc = journal_stored(
			e->journal, p->run->id, e->slots[k].id, &at, sent, err);
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

	if (scan_refuses(e, p, k) && !doubtful)
		return ST_OK;
	for (;;) {
		rc = slot_open(e, s, err);
		if (rc == ST_OK)
			rc = decide_look(e, p, k, doubtful, &floor, err);
		if (rc == ST_OK && doubtful && p->run->look[k])
			rc = deliver_learn(e, k, err);
		if (rc == ST_OK) {
			fill_delivery(e, p, k);
			rc = p->run->look[k] ? parcel_look(e, p, k, err) : ST_END;
		}
		if (rc != ST_RETRY)
			break;
		rc = deliver_resume(e, k, err);
		if (rc != ST_OK)
			break;
	}
	if (rc < 0)
		return rc;
	if (rc == ST_END && scan_refuses(e, p, k))
		return journal_not_stored(e->journal, p->run->id, s->id, err);
	if (rc == ST_END && doubtful && scan_moves(e, p))
		return place_one(e, p, k, false, err);
	at = (struct place){ floor.generation, floor.next };
	p->run->need[k] = rc == ST_END;
	p->run->look[k] = false;
	/* Should it be put and then be in doubt, it can only be from here on. */
	if (!doubtful)
		p->run->from[k] = floor;
	rc = journal_storing(e->journal, p->run->id, s->id, p->run->verdict.folder, &at,
		clock_utc(), err);
	if (rc == ST_OK && !p->run->need[k])
		rc = parcel_stored(e, p, k, err);
	return rc;
}

enum status parcel_failed(struct engine *e, struct parcel *p, const char *stage,
	const struct err *why, struct err *err)
{
	struct task *t = &e->tasks.v[p->task];
	struct journal_key key;

	tasks_key(&e->tasks, t, &key);
	key.row = p->run ? p->run->id : 0;
	tasks_set(&e->tasks, t, TASK_FAILED);
	e->visits.unsafe |= p->message != NULL;
	log_warn(&e->log, "message-failed", LOG_U("number", t->number),
		LOG_B("uidl", key.uidl, key.uidl_n), LOG_S("stage", stage),
		LOG_S("reason", why->text));
	return journal_failed(e->journal, &key, t->number,
		p->message ? &p->message->facts : NULL, stage, why, err);
}

static void tell_collision(struct engine *e, const struct parcel *p)
{
	e->collisions++;
	log_warn(&e->log, "id-collision", LOG_U("number", e->tasks.v[p->task].number),
		LOG_S("message-id", p->message->facts.message_id),
		LOG_S("kept", "both: same Message-ID, different content"));
}

/* Where content does not decide, each that is left out is told, also in the report. */
static enum status tell_dropped(
	struct engine *e, const struct parcel *p, struct err *err)
{
	const struct facts *f = &p->message->facts;

	if (e->job->dedup != DEDUP_MESSAGE_ID_ONLY || !f->has_msgid)
		return ST_OK;
	log_warn(&e->log, "dropped-by-message-id",
		LOG_U("number", e->tasks.v[p->task].number),
		LOG_S("message-id", f->message_id));
	return journal_notice(e->journal, p->run->id, "dropped-by-message-id",
		"left out, because one with this Message-ID is stored; what is in them was "
		"not compared",
		err);
}

static enum status note_duplicate(struct engine *e, struct parcel *p, int64_t of,
	const char *rule, struct err *err)
{
	struct task *t = &e->tasks.v[p->task];
	enum status rc;

	tasks_set(&e->tasks, t, TASK_DUPLICATE);
	rc = known_take(e, p, err);
	if (rc == ST_OK)
		rc = tell_dropped(e, p, err);
	if (rc == ST_OK)
		rc = story_place(e, t, of, err);
	return rc == ST_OK ? journal_duplicate(e->journal, p->run->id, of, rule, err)
			   : rc;
}

/* That it could not be had again, or not be stored everywhere, is over. */
static enum status revive(struct engine *e, const struct parcel *p,
	const struct journal_row *row, uint64_t listed_size, struct err *err)
{
	const struct journal_key key = { .row = row->id, .listed_size = listed_size };
	enum status rc = journal_failed_in(e->journal, row->id, e->run, err);
	int64_t id;

	/* The report of this run says so. */
	if (rc != ST_END)
		return rc;
	return journal_take(e->journal, &key, &p->message->facts, row->date, &id, err);
}

/*
 * A twin of one that some destinations have is a duplicate of it there, and where it is
 * not it takes its place: *row is that one, and for p its row.
 */
static enum status adopt(struct engine *e, struct parcel *p, int64_t of,
	const char *rule, struct journal_row *row, bool *done, struct err *err)
{
	unsigned mask = notice_mask(e, p->message);
	enum status rc = journal_get(e->journal, of, row, err);

	if (rc != ST_OK)
		return rc;
	*done = (row->stored & mask) == mask;
	if (*done)
		return note_duplicate(e, p, of, rule, err);
	rc = known_take(e, p, err);
	if (rc == ST_OK)
		rc = tell_dropped(e, p, err);
	if (rc == ST_OK)
		rc = journal_duplicate(e->journal, p->run->id, of, rule, err);
	if (rc == ST_OK && row->state == J_FAILED)
		rc = revive(e, p, row, UINT64_MAX, err);
	nameless_give(e, p);
	p->run->id = of;
	p->run->settled = true;
	return rc;
}

/* One in doubt is no more when a twin was stored meanwhile, or is just now. */
static enum status dismiss_doubtful(
	struct engine *e, struct parcel *p, bool *done, bool *deferred, struct err *err)
{
	const char *rule = NULL;
	enum twin twin;
	int64_t of = 0;
	enum status rc;
	size_t k;

	if (p->run->settled)
		return ST_OK;
	rc = dedup_ask(e, &p->message->facts, &twin, &of, &rule, err);
	*done = rc == ST_OK && twin == TWIN_STORED && of != p->run->id;
	*deferred = rc == ST_OK && twin == TWIN_MOVING;
	if (!*done)
		return rc;
	rc = note_duplicate(e, p, of, rule, err);
	for (k = 0; rc == ST_OK && k < e->n_slots; k++)
		rc = journal_not_stored(e->journal, p->run->id, e->slots[k].id, err);
	return rc;
}

/* Filtered or a duplicate: then it is done. *deferred: ask again later. *row: as
 * adopt(). */
static enum status dismiss(struct engine *e, struct parcel *p, bool final,
	struct journal_row *row, bool *done, bool *deferred, struct err *err)
{
	struct task *t = &e->tasks.v[p->task];
	const char *rule = NULL;
	enum twin twin;
	int64_t of = 0;
	bool stored = false;
	enum status rc;

	*done = *deferred = false;
	if (p->run->verdict.filtered) {
		*done = true;
		tasks_set(&e->tasks, t, TASK_FILTERED);
		rc = known_take(e, p, err);
		return rc == ST_OK ? journal_filtered(e->journal, p->run->id,
					     p->run->verdict.rule, err)
				   : rc;
	}
	rc = dedup_ask(e, &p->message->facts, &twin, &of, &rule, err);
	if (rc != ST_OK)
		return rc;
	/* One that is in doubt for good must not hide one of this batch. */
	if (twin == TWIN_MOVING ||
		((twin == TWIN_DOUBTFUL || twin == TWIN_PARTLY) && !final)) {
		*deferred = true;
		return ST_OK;
	}
	if (twin == TWIN_DOUBTFUL)
		rc = holder_ask(e, of, &stored, err);
	if (rc != ST_OK)
		return rc;
	if (stored)
		twin = TWIN_PARTLY;
	p->run->doubted = twin == TWIN_DOUBTFUL;
	if (twin == TWIN_COLLISION)
		tell_collision(e, p);
	if (twin == TWIN_PARTLY)
		return adopt(e, p, of, rule, row, done, err);
	if (twin != TWIN_STORED)
		return ST_OK;
	*done = true;
	return note_duplicate(e, p, of, rule, err);
}

/* It is known: what the listing said of it is brought up to date. */
static enum status settle(struct engine *e, struct parcel *p,
	const struct journal_row *row, struct err *err)
{
	const struct task *t = &e->tasks.v[p->task];
	struct journal_row own;
	struct journal_key key;
	enum status rc;

	/* It is here because it was not as large as listed, and that is how it is. */
	e->visits.any_size |= t->tries > 0 && t->size != UINT64_MAX &&
		p->message->facts.size != t->size;
	tasks_key(&e->tasks, t, &key);
	if (row->state == J_FAILED) {
		rc = revive(e, p, row, t->size, err);
		if (rc != ST_OK)
			return rc;
	}
	if (!key.uidl || t->shared)
		return ST_OK;
	rc = journal_find(e->journal, key.uidl, key.uidl_n, key.occurrence, &own, err);
	if (rc != ST_OK || (own.id != row->id && own.of != row->id))
		return rc < 0 ? rc : ST_OK;
	rc = journal_resize(e->journal, own.id, t->size, err);
	if (rc == ST_OK && own.has_content && !known_bytes(&own, &p->message->facts))
		rc = notice_changed(e, own.id, t->number, err);
	return rc;
}

/* There is nothing of it: perhaps there is in another session? */
static enum status had_nothing(struct engine *e, struct parcel *p, struct err *err)
{
	struct task *t = &e->tasks.v[p->task];

	/* What was too long is so the next time. */
	if (p->why->exit == EX_TEMPFAIL && visits_put_off(e, t, p->why))
		return ST_OK;
	return parcel_failed(e, p, "retrieve", p->why, err);
}

/*
 * Every destination that should have it has it: of *row, or of the one it is a
 * duplicate of, which *row is then.
 */
static enum status is_done(struct engine *e, const struct parcel *p, unsigned mask,
	struct journal_row *row, bool *done, struct err *err)
{
	struct journal_row original;
	enum status rc = ST_END;

	/* Others are only fetched again when there is something to do. */
	if (row->state == J_DUPLICATE && e->tasks.v[p->task].shared)
		rc = journal_get(e->journal, row->of, &original, err);
	if (rc < 0)
		return rc;
	if (rc == ST_OK && (original.stored & mask) == mask)
		*row = original;
	*done = (row->state == J_TAKEN || row->state == J_FAILED) &&
		(row->stored & mask) == mask;
	return ST_OK;
}

/* What each destination still needs. row: what is known of it, or NULL. */
static enum status place_all(struct engine *e, struct parcel *p, unsigned mask,
	struct journal_row *row, struct err *err)
{
	enum status rc = ST_OK;
	bool stored = false;
	size_t k;

	/* What is in doubt may have been written otherwise than this copy. */
	if (row && row->storing &&
		memcmp(row->sha256, p->message->facts.sha256, DIGEST) != 0)
		rc = holder_ask(e, row->id, &stored, err);
	if (rc == ST_OK && stored)
		rc = journal_get(e->journal, row->id, row, err);
	for (k = 0; rc == ST_OK && k < e->n_slots; k++) {
		unsigned bit = 1u << e->slots[k].id;

		if ((mask & bit) && !(row && (row->stored & bit)))
			rc = place_one(e, p, k, row && (row->storing & bit), err);
	}
	return rc;
}

static void judge_it(struct engine *e, struct parcel *p)
{
	struct judgement v;

	judge_again(e->job, p->message, p->origin, e->tasks.v[p->task].size,
		clock_utc(), &v);
	p->run->verdict = (struct filed){
		.folder = engine_name(e, v.folder),
		.rule = v.rule,
		.date = v.date,
		.filtered = v.filtered,
		.seen = v.seen,
		.answered = v.answered,
		.flagged = v.flagged,
		.draft = v.draft,
	};
	if (!v.filtered && (v.rule = notice_filter(e, p->message))) {
		p->run->verdict.filtered = true;
		p->run->verdict.rule = v.rule;
	}
}

static enum status prepare(
	struct engine *e, struct parcel *p, bool final, bool *deferred, struct err *err)
{
	struct task *t = &e->tasks.v[p->task];
	unsigned mask = notice_mask(e, p->message);
	struct journal_row row = { 0 };
	bool done = false;
	enum status rc, have;

	judge_it(e, p);
	have = known_find(e, p, &row, err);
	if (have < 0)
		return have;
	rc = have == ST_OK ? is_done(e, p, mask, &row, &done, err) : ST_OK;
	if (rc != ST_OK)
		return rc;
	if (done) {
		tasks_set(&e->tasks, t, p->run->renamed ? TASK_RENAMED : TASK_KNOWN);
		nameless_give(e, p);
		recall_note(e, row.id);
		rc = story_place(e, t, row.of ? row.of : row.id, err);
		return rc == ST_OK ? settle(e, p, &row, err) : rc;
	}
	e->visits.news += have == ST_END;
	if (have == ST_END || !((row.stored | row.storing) & e->mask)) {
		rc = dismiss(e, p, final, &row, &done, deferred, err);
		if (rc != ST_OK || done || *deferred) {
			if (done)
				nameless_give(e, p);
			return rc;
		}
		if (p->run->settled) /* now it has another's row */
			have = ST_OK;
	}
	if (have == ST_OK && !(row.stored & e->mask)) {
		rc = dismiss_doubtful(e, p, &done, deferred, err);
		if (done)
			nameless_give(e, p);
		if (rc != ST_OK || done || *deferred)
			return rc;
	}
	rc = p->run->settled ? ST_OK : known_take(e, p, err);
	nameless_give(e, p);
	recall_note(e, p->run->id);
	if (rc == ST_OK && e->scan)
		rc = scan_parcel(e, p, &done, err);
	if (rc != ST_OK || done)
		return rc;
	rc = place_all(e, p, mask, have == ST_OK ? &row : NULL, err);
	return rc == ST_OK && p->run->found ? scan_settle(e, p, err) : rc;
}

/* All that is decided before anything is promised for one message. */
enum status parcel_prepare(
	struct engine *e, struct parcel *p, bool final, bool *deferred, struct err *err)
{
	struct task *t = &e->tasks.v[p->task];
	enum status rc;

	*deferred = false;
	if (!p->message)
		return had_nothing(e, p, err);
	/* An empty message may be full in another session (quirk Q24). */
	if (!p->message->facts.size && !t->put_off && visits_put_off(e, t, NULL)) {
		message_free(&p->message);
		return ST_OK;
	}
	rc = prepare(e, p, final, deferred, err);
	if (rc != ST_OK || *deferred || !p->run->id)
		return rc;
	return notice_message(e, p, err);
}
