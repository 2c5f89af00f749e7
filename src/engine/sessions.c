/*
 * sessions.c: sessions of the source, until there is nothing more to fetch.
 *
 * A session that is lost is followed by another one, as long as each makes some
 * progress. When all is well, one more is asked for what came meanwhile, or
 * is shown only now (quirks Q17, Q22): until one has nothing new.
 */
#include <popferry/clock.h>
#include <popferry/fault.h>
#include <popferry/mem.h>

#include "engine_p.h"

#include <stdlib.h>
#include <string.h>

/* What became of one session. */
struct visit {
	uint64_t progress;
	bool listed; /* it got that far */
	bool turned; /* what was owed was paid: what is shown now? */
	bool barren; /* nothing was stored */
};

static void set_cancel(struct engine *e, struct source *src)
{
	pthread_mutex_lock(&e->lock);
	e->cancel_source = src;
	pthread_mutex_unlock(&e->lock);
}

/* What a session that ended well, or not, taught about its server. */
static void learn(struct engine *e, const struct source *src, enum status rc)
{
	struct visits *v = &e->visits;

	if (rc == ST_RETRY && src->ops->overreached(src)) {
		e->source_cautious = true;
		journal_note(e->journal, "pipelining", "no", NULL);
	}
	if (!src->ops->no_capa(src) || atomic_load(&e->stop))
		return;
	v->no_capa = true;
	/* Once may be the network's fault; the next run asks again. */
	journal_note(e->journal, "capa", ++v->capa_deaths > 1 ? "no" : "1", NULL);
}

/* What was begun ahead may have died meanwhile, or come too soon behind the last. */
static bool take_begun(
	struct engine *e, struct source **src, enum status *rc, struct err *err)
{
	if (!next_take(e, src, rc, err))
		return false;
	if (*rc != ST_RETRY || atomic_load(&e->stop) ||
		(*src && (*src)->ops->wait_ms(*src)))
		return true;
	if (*src) {
		learn(e, *src, *rc);
		(*src)->ops->close(src);
	}
	return false;
}

enum status session_open(struct engine *e, struct source **src, struct err *err)
{
	struct source_setup setup;
	enum status rc;

	engine_phase(e, "connecting");
	if (!take_begun(e, src, &rc, err)) {
		session_setup(e, &setup);
		rc = e->source_ops->open(src, &setup, err);
	}
	if (*src)
		visits_login(e, *src, rc == ST_OK);
	if (rc == ST_OK) {
		e->reached = true;
		set_cancel(e, *src);
	}
	return rc;
}

void session_close(struct engine *e, struct source **src)
{
	set_cancel(e, NULL);
	if (*src)
		(*src)->ops->close(src);
}

/* Batches of what the pump brings, until it ends or something stops us. */
static enum status consume(
	struct engine *e, struct pump *pump, uint64_t *progress, struct err *err)
{
	struct parcel **batch = xcalloc(engine_batch_count(e), sizeof(struct parcel *));
	const uint64_t *count = e->tasks.count;
	uint64_t todo = count[TASK_TODO] + count[TASK_RENAMED];
	bool ended = false;
	enum status rc = ST_OK;

	while (rc == ST_OK && !ended) {
		bool idle = !e->n_live;
		/* What comes at the pace of the answers must not wait for them. */
		int far = GLANCE_MS + deliver_rtt_ms(e);
		int most = idle || far > LINGER_MS ? LINGER_MS : far;
		size_t n = pump_take(pump, batch, most, idle, &ended);

		/* After a stop too: QUIT may make the server forget what was
		 * fetched. */
		if (n)
			fault_step("fetched");
		rc = n ? deliver_batch(e, batch, n, err) : deliver_oldest(e, err);
	}
	if (rc == ST_OK)
		rc = deliver_rest(e, err);
	deliver_drop(e);
	/* What a lost destination left to do is no progress. */
	*progress += todo - count[TASK_TODO] - count[TASK_RENAMED];
	free(batch);
	return rc;
}

/* May it be tried once more? */
static bool is_worth_it(const struct engine *e, const struct suspect *s)
{
	if (s->oddity == ODD_GLUED)
		return s->task->tries < GLUED_TRIES;
	return cuts_forgive(&e->visits.cuts, s->task->tries);
}

/*
 * A session ended in the middle of this message. One message must not keep
 * all others from passing; nor must a server that is ill make all of them fail.
 */
static enum status suspect_one(struct engine *e, const struct suspect *s,
	uint64_t *progress, const struct err *why, struct err *err)
{
	int last = (s->oddity == ODD_GLUED ? GLUED_TRIES : POISON_TRIES) - 1;
	struct task *t = s->task;
	enum status rc;

	if (*progress)
		e->poisoned = 0;
	cuts_note(&e->visits.cuts, (uint64_t)(t - e->tasks.v), s->at);
	/* Asking ahead may be to blame, so the last tries are without (quirk Q60). */
	e->careful = ++t->tries >= last || s->oddity == ODD_UNSTUFFED;
	if (is_worth_it(e, s))
		return ST_OK;
	if (e->poisoned++ == POISON_ROW) {
		*err = *why;
		return err->status = ST_DENIED;
	}
	++*progress;
	rc = deliver_failed(e, t, why, err);
	return rc == ST_OK ? notice_failed(e, t, s->oddity, err) : rc;
}

/*
 * Those that were refused. As long as sessions bring something they may be
 * told to wait (quirk Q54: "Download exceed"); after that they have failed.
 */
static enum status settle_refused(struct engine *e, uint64_t *progress, struct err *err)
{
	bool brought = *progress > 0;
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < e->n_put_off; i++) {
		struct task *t = &e->tasks.v[e->put_off[i].task];

		if (brought || t->put_off < REFUSED_TRIES || t->state != TASK_TODO)
			continue;
		rc = deliver_failed(e, t, &e->put_off[i].why, err);
		++*progress;
	}
	e->n_put_off = 0;
	return rc;
}

static void nowhere(void *ctx, const char *p, size_t n)
{
	(void)ctx;
	(void)p;
	(void)n;
}

/*
 * Some servers show the next messages only when those before were fetched by a session
 * that took its leave (quirk Q44). A session that ended too soon is made good here:
 * where only a part is shown, by fetching all of it again; elsewhere by one message,
 * and should that be gone the next time, the server is such a one.
 */
static enum status fetch_again(
	struct engine *e, struct source *src, bool all, struct err *err)
{
	enum status rc = ST_OK;
	uint32_t number;
	size_t i;

	log_info(&e->log, "fetching-again",
		LOG_S("what", all ? "all that is known" : "one message"),
		LOG_S("reason",
			"a session ended too soon, and some servers show the next messages "
			"only when these are fetched in a good one"));
	for (i = 0; i < e->tasks.n; i++) {
		const struct task *t = &e->tasks.v[i];

		if (!t->number || t->state == TASK_TODO)
			continue;
		src->ops->want(src, t->number, t->size);
		if (!all)
			e->visits.probe = (uint32_t)i + 1;
		if (!all)
			break;
	}
	while (rc == ST_OK || rc == ST_SKIP)
		rc = src->ops->next(src, &number, nowhere, NULL, err);
	return rc == ST_END ? ST_OK : rc;
}

/* Is there something to make good, and is this the session to do so? */
static enum status pay(struct engine *e, struct source *src, const struct listing *l,
	size_t todo, struct visit *v, struct err *err)
{
	struct visits *s = &e->visits;
	bool gone = s->probe && !e->tasks.v[s->probe - 1].number;

	s->probe = 0;
	if (gone) {
		s->windowed = true;
		v->turned = true;
		return fetch_again(e, src, true, err);
	}
	/* Where what was fetched goes, there is nothing to make good. */
	if (!s->owed || s->paid || todo || !l->n || l->steady ||
		(l->consumed && !l->windowed))
		return ST_OK;
	s->paid = v->turned = true;
	return fetch_again(e, src, s->windowed, err);
}

static enum status owe(struct engine *e, bool owed, struct err *err)
{
	if (e->visits.owed == owed)
		return ST_OK;
	e->visits.owed = owed;
	return journal_note(e->journal, "quit", owed ? "owed" : "", err);
}

/* fetched: something was; last of it, or NULL. */
static enum status leave(struct engine *e, struct source *src, const struct listing *l,
	bool fetched, const struct task *last, const struct parting *parting,
	struct err *err)
{
	enum status rc;

	/* It would delete what is stored nowhere yet; without a goodbye it may not. */
	if (l->consumed && !l->windowed && e->visits.unsafe) {
		log_warn(&e->log, "left-without-quit",
			LOG_S("reason",
				"the server may delete what was fetched, and some of it could "
				"not be stored"));
		return ST_OK;
	}
	rc = parting->done ? parting->rc : src->ops->finish(src, err);
	if (parting->done && rc != ST_OK)
		*err = parting->err;
	if (rc == ST_OK && fetched)
		return owe(e, false, err);
	if (rc == ST_OK)
		return rc;
	if (rc != ST_RETRY)
		return rc;
	/* Nothing was to be deleted: a lost goodbye costs nothing. */
	log_info(&e->log, "quit-unanswered", LOG_S("reason", err->text));
	if (err->exit == EX_PROTOCOL && last) /* what else came may be the rest of it */
		return notice_failed(e, last, ODD_UNSTUFFED, err);
	return ST_OK;
}

static enum status fetch_all(struct engine *e, struct source *src,
	const struct listing *l, const uint32_t *order, size_t n, struct visit *v,
	struct parting *parting, struct err *err)
{
	bool follow = next_welcome(e);
	struct err from_source = ERR_INIT;
	struct suspect suspect;
	struct pump *pump;
	enum status rc, fetched;

	rc = owe(e, true, err);
	if (rc == ST_OK)
		rc = pump_start(&pump, e, src, order, n, follow,
			l->lasting && follow ? parting : NULL, err);
	if (rc != ST_OK)
		return rc;
	rc = consume(e, pump, &v->progress, err);
	if (rc == ST_OK && pump_parts(pump))
		rc = engine_seal_early(e, err);
	fetched = pump_stop(&pump, rc != ST_OK, &suspect, &from_source);
	if (rc == ST_OK && atomic_load(&e->stop)) {
		if (fetched == ST_END)
			leave(e, src, l, true, NULL, parting, err);
		rc = engine_stopped(err);
	}
	if (rc == ST_OK && suspect.task)
		rc = suspect_one(e, &suspect, &v->progress, &from_source, err);
	if (rc == ST_OK)
		rc = settle_refused(e, &v->progress, err);
	if (rc == ST_OK && fetched != ST_END) {
		*err = from_source;
		rc = fetched;
	}
	return rc;
}

static void tell_listing(const struct engine *e, const struct listing *l, size_t todo)
{
	log_info(&e->log, "listed", LOG_U("messages", l->n), LOG_U("todo", todo),
		LOG_U("repeated-uidl", l->repeated),
		LOG_U("unreadable-rows", l->unreadable));
	if (l->nameless && l->n)
		log_warn(&e->log, "no-uidl",
			LOG_S("meaning",
				"this server gives no UIDLs: every run must fetch "
				"every message to know it again"));
	if (l->numbered)
		log_warn(&e->log, "uidl-is-number",
			LOG_S("meaning",
				"the UIDLs are the message numbers, which mean nothing in "
				"another session: every run must fetch every message to know "
				"it again"));
}

static enum status one_session(
	struct engine *e, struct source *src, struct visit *v, struct err *err)
{
	struct parting parting = { .err = ERR_INIT };
	struct listing l;
	uint32_t *order = NULL;
	size_t n = 0;
	enum status rc;

	engine_phase(e, "listing");
	e->visits.news = 0;
	e->visits.unsafe = false;
	rc = plan_make(e, src, &l, &order, &n, err);
	if (rc == ST_OK)
		rc = visits_listed(e, &l, err);
	if (rc != ST_OK)
		goto out;
	v->listed = true;
	story_heard(e, src, &l);
	tell_listing(e, &l, n);
	fault_step("planned");
	engine_phase(e, "copying");
	rc = pay(e, src, &l, n, v, err);
	if (n)
		slots_open_early(e, true);
	if (rc == ST_OK && n)
		rc = fetch_all(e, src, &l, order, n, v, &parting, err);
	if (rc == ST_OK)
		rc = leave(e, src, &l, n || v->turned,
			n ? &e->tasks.v[order[n - 1]] : NULL, &parting, err);
out:
	free(order);
	return rc;
}

static enum status visit(struct engine *e, struct visit *v, struct err *err)
{
	const uint64_t *count = e->tasks.count,
		       before = count[TASK_STORED] + count[TASK_DUPLICATE];
	struct source *src = NULL;
	enum status rc;

	rc = session_open(e, &src, err);
	if (rc == ST_OK)
		rc = one_session(e, src, v, err);
	if (src)
		learn(e, src, rc);
	session_close(e, &src);
	/* It was begun for what would be, and that came otherwise. */
	if (rc != ST_OK)
		next_drop(e);
	v->barren = count[TASK_STORED] + count[TASK_DUPLICATE] == before;
	return rc;
}

/* All was well. Is there a reason for another session? *look: only to see. */
static bool go_on(struct engine *e, const struct visit *v, bool *look)
{
	bool windowed = e->visits.windowed;
	int64_t due = visits_due(e);

	*look = false;
	if (atomic_load(&e->stop))
		return false;
	/* Was put off, or is for another session (session-messages). */
	if (e->tasks.count[TASK_TODO] > e->visits.beyond)
		return true;
	if (e->job->limit)
		return false;
	*look = true;
	if ((!e->visits.news && !v->turned) || e->visits.steady)
		return false;
	/* What fails under another UIDL in each session would be news for ever. */
	e->visits.barren = v->barren ? e->visits.barren + 1 : 0;
	if (e->visits.barren > (windowed ? ATTEMPTS : 0) && !v->turned)
		return false;
	/* Numbers do not tell whether a message is new. */
	if (e->visits.unnamed && !windowed)
		return false;
	if (due <= (windowed ? WINDOW_WAIT_S * 1000 : 0))
		return true;
	log_info(&e->log, "no-second-look", LOG_U("wait_ms", (uint64_t)due),
		LOG_S("reason",
			"the server wants a pause between logins; what came meanwhile is left "
			"to the next run"));
	return false;
}

/*
 * Only copies of what is stored, under UIDLs that were not in the listing before: where
 * each session has others it would never end.
 */
static bool is_barren(const struct engine *e, uint64_t stored)
{
	return !e->visits.windowed && e->visits.before && !e->visits.back &&
		e->tasks.count[TASK_STORED] == stored;
}

/* After ST_RETRY: is another try worth it? Waits for it. */
static enum status try_again(
	struct engine *e, const struct visit *v, unsigned *attempts, struct err *err)
{
	int64_t due, backoff;

	if (atomic_load(&e->stop))
		return engine_stopped(err);
	/* Nothing listens there: that is told at once, not after five tries. */
	if (!e->reached && err->exit == EX_UNAVAILABLE)
		return ST_RETRY;
	*attempts = v->progress ? 1 : *attempts + 1;
	if (*attempts > ATTEMPTS)
		return ST_RETRY;
	due = visits_due(e);
	if (due > LOGIN_WAIT_MAX_S * 1000)
		return visits_wait(e, LOGIN_WAIT_MAX_S, err);
	backoff = (int64_t)e->pace.backoff_ms << (*attempts - 1);
	engine_backoff(
		e, *attempts, due > backoff ? (int)due : 0, err, e->job->source.scheme);
	return atomic_load(&e->stop) ? engine_stopped(err) : ST_OK;
}

static enum status run_all(struct engine *e, struct err *err)
{
	enum status rc = visits_wait(e, LOGIN_WAIT_S, err);
	unsigned attempts = 0, idle = 0, barren = 0;
	bool look = false;

	while (rc == ST_OK) {
		struct visit v = { 0, false, false, false };
		uint64_t stored = e->tasks.count[TASK_STORED];
		struct err why = ERR_INIT;

		rc = visit(e, &v, &why);
		e->tasks.cut = rc != ST_OK;
		if (rc == ST_OK) {
			if (!go_on(e, &v, &look))
				return ST_OK;
			/* A source that gives nothing, and calls that the end. */
			idle = v.progress || v.turned ? 0 : idle + 1;
			if (idle > ATTEMPTS)
				return err_set(err, ST_DENIED, EX_PROTOCOL,
					"the source lists messages, and ends one session "
					"after the other without giving any");
			barren = look && is_barren(e, stored) ? barren + 1 : 0;
			if (barren == BARREN_MAX) {
				log_warn(&e->log, "no-second-look",
					LOG_S("reason",
						"each session has other UIDLs, and nothing but "
						"copies of what is stored"));
				return ST_OK;
			}
			attempts = 0;
			rc = visits_wait(e, LOGIN_WAIT_MAX_S, err);
			continue;
		}
		/* What was there is safe; that must not be spoilt. */
		if (look && !v.listed && !e->visits.windowed && rc > ST_FATAL &&
			!e->tasks.count[TASK_TODO] && !atomic_load(&e->stop)) {
			log_warn(&e->log, "second-look-failed",
				LOG_S("reason", why.text));
			return ST_OK;
		}
		*err = why;
		if (rc == ST_RETRY)
			rc = try_again(e, &v, &attempts, err);
	}
	return rc;
}

enum status sessions_run(struct engine *e, struct err *err)
{
	enum status rc = run_all(e, err);

	next_drop(e);
	return rc;
}
