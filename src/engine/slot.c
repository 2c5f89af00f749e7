/*
 * slot.c: a destination of the job and its session: opening, and opening anew.
 */
#include <popferry/clock.h>
#include <popferry/mem.h>

#include "engine_p.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a sink asks when it looks for a message ---- */

struct counting {
	unsigned mask, rows, stored;
};

static enum status count_row(void *ctx, const struct journal_row *row, struct err *err)
{
	struct counting *c = ctx;

	(void)err;
	c->rows++;
	c->stored += (row->stored & c->mask) == c->mask;
	return ST_OK;
}

/* The bits of the sinks that can ask. */
static unsigned servers(const struct engine *e)
{
	unsigned mask = 0;
	size_t k;

	for (k = 0; k < e->n_slots; k++)
		if (e->slots[k].ops->secret)
			mask |= 1u << e->slots[k].id;
	return mask;
}

static bool is_alone(void *ctx, const struct facts *f)
{
	const struct engine *e = ctx;
	struct counting c = { servers(e), 0, 0 };

	return f->has_msgid &&
		journal_candidates(e->journal, c.mask, f->msgid, NULL, count_row, &c,
			NULL) == ST_OK &&
		c.rows <= 1;
}

/* Stored in this batch, it is known where, and the journal does not know of it yet. */
static unsigned copies_now(const struct engine *e, const struct facts *f)
{
	unsigned n = 0;
	size_t i, k;

	for (i = 0; i < e->n_live; i++) {
		const struct errand *r = e->live[i]->run;
		bool stored = false;

		for (k = 0; k < e->n_slots; k++)
			stored |= e->slots[k].ops->secret && r->need[k] &&
				r->delivery[k].outcome == DELIVERY_STORED &&
				r->delivery[k].place;
		n += stored &&
			memcmp(e->live[i]->message->facts.exact, f->exact, DIGEST) == 0;
	}
	return n;
}

static unsigned copies(void *ctx, const struct facts *f)
{
	const struct engine *e = ctx;
	struct counting c = { servers(e), 0, 0 };

	/* Unless it can be told, all might be others'. */
	if (journal_candidates(e->journal, c.mask, f->has_msgid ? f->msgid : NULL,
		    f->exact, count_row, &c, NULL) != ST_OK)
		return UINT_MAX;
	return c.stored + copies_now(e, f);
}

/* Unless it can be told, it is: better twice than never. */
static bool is_rival(void *ctx, const struct facts *ours, const struct facts *theirs)
{
	const struct engine *e = ctx;

	return journal_rival(e->journal, ours, theirs, NULL) != ST_END;
}

/* ---- sessions ---- */

static uint64_t expected(void *ctx)
{
	struct progress now;

	engine_progress(ctx, &now);
	return now.total_bytes;
}

static uint64_t newest(void *ctx)
{
	const struct slot *s = ctx;
	uint64_t n = 0;

	/* Who cannot read the journal hears of it soon. */
	journal_newest_place(s->engine->journal, s->id, &n, NULL);
	return n;
}

static enum status before_commit(void *ctx, struct err *err)
{
	const struct slot *s = ctx;

	return journal_sync(s->engine->journal, err);
}

static enum status open_now(
	struct engine *e, struct slot *s, struct sink **out, struct err *err)
{
	struct sink_setup setup = {
		.end = s->end,
		.job = e->job,
		.account = e->account,
		.password = s->password,
		.trace = e->trace,
		.log = &e->log,
		.stop_fd = e->stop_fd,
		.cautious = s->cautious,
		.crowded = &s->crowded,
		.deadline_ms = engine_deadline_ms(e),
		.look_ms = e->pace.look_ms,
		.reading = s->reading,
		.expected = s->reached ? NULL : expected,
		.wait_ms = &s->asked_ms,
		.alone = is_alone,
		.copies = copies,
		.rival = is_rival,
		.ask_ctx = e,
		.newest = newest,
		.before_commit = before_commit,
		.story = story_tell,
		.story_ctx = s,
	};
	enum status rc;

	s->asked_ms = 0;
	rc = s->ops->open(out, &setup, err);
	if (rc != ST_OK)
		*out = NULL;
	return rc;
}

/* ---- opened while the source is still being asked ---- */

struct opener {
	pthread_t thread;
	struct engine *e;
	struct slot *slot;
	struct sink *sink;
	enum status rc;
	struct err err;
};

static void *open_in_thread(void *arg)
{
	struct opener *o = arg;

	o->rc = open_now(o->e, o->slot, &o->sink, &o->err);
	return NULL;
}

void slots_open_early(struct engine *e, bool all)
{
	size_t k;

	for (k = 0; k < e->n_slots; k++) {
		struct slot *s = &e->slots[k];
		struct opener *o;

		if (s->sink || s->opener || !s->ops->secret || (!all && s->settled))
			continue;
		o = xcalloc(1, sizeof(*o));
		*o = (struct opener){ .e = e, .slot = s, .err = ERR_INIT };
		s->opener = o;
		if (!pthread_create(&o->thread, NULL, open_in_thread, o))
			continue;
		free(o); /* then it is opened when it is needed */
		s->opener = NULL;
	}
}

static enum status take_opened(struct slot *s, struct err *err)
{
	struct opener *o = s->opener;
	enum status rc;

	pthread_join(o->thread, NULL);
	s->sink = o->sink;
	rc = o->rc;
	if (rc != ST_OK && err)
		*err = o->err;
	free(o);
	s->opener = NULL;
	return rc;
}

void slot_close(struct engine *e, struct slot *s)
{
	size_t i;

	if (s->opener)
		take_opened(s, NULL);
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
	enum status rc;

	if (s->sink)
		return ST_OK;
	rc = s->opener ? take_opened(s, err) : open_now(e, s, &s->sink, err);
	if (rc != ST_OK)
		return rc;
	s->reached = true;
	pthread_mutex_lock(&e->lock);
	e->cancel_sink[s - e->slots] = s->sink;
	pthread_mutex_unlock(&e->lock);
	return ST_OK;
}

/*
 * After ST_RETRY: closes, waits and opens anew. ST_OK: go on. Otherwise the
 * reason why not, in err; never ST_RETRY, for to fetch the mail again is no cure.
 */
enum status slot_again(struct engine *e, struct slot *s, struct err *err)
{
	int asked = s->sink ? s->ops->wait_ms(s->sink) : s->asked_ms;
	enum status rc = ST_RETRY;

	while (rc == ST_RETRY) {
		slot_close(e, s);
		if (atomic_load(&e->stop))
			return engine_stopped(err);
		/* Nothing listens there: told at once when it never did. */
		if (++s->attempts > ATTEMPTS ||
			(!s->reached && err->exit == EX_UNAVAILABLE))
			return err->status = ST_DENIED;
		engine_backoff(e, s->attempts, asked, err, s->end->scheme);
		rc = slot_open(e, s, err);
		asked = s->asked_ms;
	}
	return rc;
}

struct telling {
	struct slot *slot;
	const char *folder;
};

static void tell(void *ctx, const struct place *at, const unsigned char exact[DIGEST])
{
	struct telling *t = ctx;

	t->slot->ops->claim(
		t->slot->sink, t->folder, at->generation, at->number, exact);
}

/* Once a session and folder: what the journal knows must not be found again. */
enum status slot_tell(
	struct engine *e, struct slot *s, const char *folder, struct err *err)
{
	struct telling t = { s, folder };
	const char *of = s->ops->recall ? NULL : folder;
	size_t i;

	if (!of && s->n_claimed)
		return ST_OK;
	for (i = 0; i < s->n_claimed; i++)
		if (strcmp(s->claimed[i], folder) == 0)
			return ST_OK;
	s->claimed = xreallocarray(s->claimed, s->n_claimed + 1, sizeof(char *));
	s->claimed[s->n_claimed++] = xstrdup(folder);
	return journal_places(e->journal, s->id, of, tell, &t, err);
}

int64_t slot_settle_ms(const struct engine *e, const struct slot *s)
{
	if (s->end->imap.settle)
		return (int64_t)s->end->imap.settle * 1000;
	return e->pace.settle_ms;
}
