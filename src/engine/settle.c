/*
 * settle.c: one destination: what is put there, and until nothing of it is pending.
 *
 * A sink that is lost on the way is opened anew and asked, message by
 * message, what got through: the same road as after a crash. All that is under
 * way is then one batch: it is settled together.
 */
#include <popferry/clock.h>
#include <popferry/mem.h>

#include "engine_p.h"

#include <stdlib.h>
#include <string.h>

enum { EASE_TRY = 4 }; /* a wait without a named time is that of the 4th try */

/* What its destination says of a message. */
static struct err *reason(struct delivery *d, const struct err *why)
{
	if (!d->err)
		d->err = xmalloc(sizeof(*d->err));
	if (why)
		*d->err = *why;
	return d->err;
}

/* ---- put and commit ---- */

/*
 * It said OK and stored nothing (quirk Q112): once more, and then it has failed.
 */
static void deny(struct parcel *p, size_t k)
{
	struct delivery *d = &p->run->delivery[k];

	d->unsaid = false;
	d->outcome = DELIVERY_PENDING;
	p->run->sent[k] = false;
	if (p->run->again[k]) {
		d->outcome = DELIVERY_REFUSED;
		d->cause = REFUSED_OTHERWISE;
		err_set(reason(d, NULL), ST_SKIP, EX_UNAVAILABLE,
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
	reason(d, why)->status = ST_SKIP;
	err_note(d->err, "left out after it ended %d sessions", SINK_TRIES);
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
		if (p->run->tries[k] >= SINK_TRIES) {
			if (s->poisoned++ == POISON_ROW)
				return err->status = ST_DENIED;
			give_up(p, k, err);
			return ST_OK;
		}
	}
	p->run->sent[k] = true;
	rc = s->ops->put(s->sink, d, err);
	if (rc == ST_SKIP) {
		d->outcome = DELIVERY_REFUSED;
		reason(d, err);
		rc = ST_OK;
	}
	return rc;
}

static bool is_wanting(const struct parcel *p, size_t k)
{
	return p->run->need[k] && !p->run->sent[k] &&
		p->run->delivery[k].outcome == DELIVERY_PENDING;
}

/* Those from v[0] on that go to its folder, where that is cheaper; else all. */
static enum status put_some(
	struct engine *e, struct parcel **v, size_t n, size_t k, struct err *err)
{
	bool one = e->slots[k].ops->by_folder;
	const char *folder = v[0]->run->verdict.folder;
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < n; i++)
		if (is_wanting(v[i], k) &&
			(!one || strcmp(v[i]->run->verdict.folder, folder) == 0))
			rc = put_one(e, v[i], k, err);
	return rc;
}

enum status deliver_put(
	struct engine *e, size_t k, struct parcel **v, size_t n, struct err *err)
{
	struct slot *s = &e->slots[k];
	enum status rc = slot_open(e, s, err);
	bool missing, any = false;
	size_t i;

	if (rc == ST_OK && s->losses)
		claim_stored(e, k, v, n);
	if (rc == ST_OK)
		rc = learn_places(e, k, v, n, &missing, err);
	for (i = 0; rc == ST_OK && i < n; i++)
		if (is_wanting(v[i], k)) {
			any = true;
			rc = put_some(e, v + i, n - i, k, err);
		}
	return rc == ST_OK && any ? s->ops->flush(s->sink, err) : rc;
}

static bool is_flying(const struct engine *e, size_t k)
{
	size_t i;

	for (i = 0; i < e->n_live; i++)
		if (e->live[i]->run->sent[k] &&
			e->live[i]->run->delivery[k].outcome == DELIVERY_PENDING)
			return true;
	return false;
}

/*
 * The session is lost: what is known of each message now? When that happens
 * twice in a batch, the rest goes one by one, so that a message that ends every
 * session is known from the others.
 */
static void doubt(struct engine *e, size_t k)
{
	struct slot *s = &e->slots[k];
	struct parcel **v = e->live;
	bool singly = s->sink && s->ops->overreached(s->sink);
	struct parcel *last = NULL;
	size_t i, stored = 0, flying = 0;

	for (i = 0; i < e->n_live; i++) {
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
	/* It may be the message, or the line: then a server from which nobody had to be
	 * left out is not blamed for what is tried alone. */
	if (flying == 1 && !s->poisoned && s->attempts > last->run->tries[k])
		s->attempts = last->run->tries[k];
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

/*
 * A session was lost before anything of the next batch was put. In the new one, too,
 * what those under way have stored must not be found for another message.
 */
enum status deliver_resume(struct engine *e, size_t k, struct err *err)
{
	struct slot *s = &e->slots[k];
	enum status rc = ST_RETRY;
	bool missing = false;

	while (rc == ST_RETRY) {
		if (is_flying(e, k)) {
			doubt(e, k);
			s->shaken = true;
		}
		rc = slot_again(e, s, err);
		if (rc != ST_OK)
			break;
		claim_stored(e, k, e->live, e->n_live);
		rc = learn_places(e, k, e->live, e->n_live, &missing, err);
		s->shaken |= missing;
	}
	return rc;
}

enum status deliver_learn(struct engine *e, size_t k, struct err *err)
{
	struct slot *s = &e->slots[k];
	bool missing = false;
	enum status rc;

	if (e->job->dedup != DEDUP_NONE || !s->ops->secret || !e->n_live)
		return ST_OK;
	rc = s->ops->commit(s->sink, err);
	if (rc == ST_OK)
		rc = learn_places(e, k, e->live, e->n_live, &missing, err);
	s->shaken |= missing;
	return rc;
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

void deliver_eased(struct engine *e, struct slot *s)
{
	s->attempts = s->losses = 0;
	s->stored = 0;
	ease_off(e, s);
}

enum status deliver_settle(struct engine *e, size_t k, enum status rc, struct err *err)
{
	struct slot *s = &e->slots[k];
	bool missing = false;

	for (;;) {
		if (rc == ST_OK)
			rc = s->ops->commit(s->sink, err);
		if (rc == ST_OK)
			rc = learn_places(e, k, e->live, e->n_live, &missing, err);
		if (rc == ST_OK && !missing)
			break;
		if (rc == ST_RETRY) {
			doubt(e, k);
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
		rc = deliver_put(e, k, e->live, e->n_live, err);
	}
	deliver_eased(e, s);
	if (s->cautious) { /* that batch is through: full speed again */
		s->cautious = false;
		slot_close(e, s);
	}
	return ST_OK;
}
