/*
 * visits.c: what is remembered of the source from one session to the next.
 *
 * When the last login was, and how soon another one is welcome; how many messages
 * there were; which are to be asked for once more. Notes in the journal keep it from
 * run to run:
 *
 *	pipelining  "no": asking ahead went wrong
 *	capa        "1": CAPA ended a session; "no": it did so again
 *	quit        "owed": what was fetched last was not taken leave of
 *	login       when the last login was (UTC), and the pause that was wanted
 *	listed      messages in the last listing, and how many had ever been asked to go then
 *	empty-runs  in a row that found nothing where there was mail
 */
#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "engine_p.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- notes ---- */

/* True when there is such a note; *a and *b are its numbers. */
static bool noted(struct engine *e, const char *key, int64_t *a, int64_t *b)
{
	char *text = NULL, *end;

	if (journal_noted(e->journal, key, &text, NULL) != ST_OK)
		return false;
	*a = strtoll(text, &end, 10);
	*b = strtoll(end, NULL, 10);
	free(text);
	return true;
}

static bool says(struct engine *e, const char *key, const char *word)
{
	char *text = NULL;
	bool same = journal_noted(e->journal, key, &text, NULL) == ST_OK &&
		strcmp(text, word) == 0;

	free(text);
	return same;
}

static enum status note(
	struct engine *e, const char *key, int64_t a, int64_t b, struct err *err)
{
	char text[48];

	snprintf(text, sizeof(text), "%" PRId64 " %" PRId64, a, b);
	return journal_note(e->journal, key, text, err);
}

void sessions_prepare(struct engine *e)
{
	struct visits *v = &e->visits;
	int64_t a, b, ago;

	e->source_cautious = says(e, "pipelining", "no");
	v->no_capa = says(e, "capa", "no");
	v->capa_deaths = v->no_capa || says(e, "capa", "1");
	v->owed = says(e, "quit", "owed");
	if (noted(e, "login", &a, &b) && b > 0) {
		ago = clock_utc() - a;
		v->interval_ms = b * 1000;
		/* A clock that was set back knows nothing. */
		v->logged_in = ago >= 0 && ago < b;
		v->login_ms = clock_ms() - ago * 1000;
	}
	if (noted(e, "listed", &a, &b) && a > 0) {
		v->now = v->noted = (uint64_t)a;
		v->noted_removed = (uint64_t)b;
	}
	if (noted(e, "empty-runs", &a, &b) && a > 0)
		v->empty_runs = (unsigned)a;
}

/* ---- logins ---- */

int64_t visits_due(const struct engine *e)
{
	const struct visits *v = &e->visits;
	int64_t left = v->login_ms + v->interval_ms - clock_ms();

	return v->logged_in && left > 0 ? left : 0;
}

enum status visits_wait(struct engine *e, unsigned max_s, struct err *err)
{
	int64_t due = visits_due(e);
	char when[24];

	if (due == 0)
		return ST_OK;
	if (due > (int64_t)max_s * 1000)
		return err_set(err, ST_DENIED, EX_TEMPFAIL,
			"the source wants %" PRId64
			" s between two logins; run again after %s",
			e->visits.interval_ms / 1000,
			clock_rfc3339(when, clock_utc() + (due + 999) / 1000));
	log_info(&e->log, "login-pause", LOG_U("wait_ms", (uint64_t)due),
		LOG_S("reason", "the source wants a pause between two logins"));
	engine_phase(e, "waiting");
	engine_sleep(e, due);
	return atomic_load(&e->stop) ? engine_stopped(err) : ST_OK;
}

void visits_login(struct engine *e, const struct source *src, bool accepted)
{
	struct visits *v = &e->visits;
	int wanted = src->ops->wait_ms(src);

	if (!accepted && !wanted)
		return;
	/* Refused: nobody says since when the pause counts, so it is from now. */
	v->interval_ms = wanted;
	v->login_ms = clock_ms();
	v->logged_in = true;
	if (wanted && e->journal && !e->job->dry_run)
		note(e, "login", clock_utc(), wanted / 1000, NULL);
}

/* ---- listings ---- */

/* It had mail, nobody here deleted that, and now it is empty? */
static enum status disbelieve(struct engine *e, uint64_t removed, struct err *err)
{
	struct visits *v = &e->visits;
	uint64_t gone = removed - v->noted_removed;
	enum status rc;

	if (v->windowed || v->noted <= gone)
		return ST_OK;
	/* It was being fetched then, and there are servers that delete what was. */
	if (v->owed)
		return ST_OK;
	if (++v->empty_runs >= EMPTY_RUNS) {
		log_warn(&e->log, "empty-believed", LOG_U("messages-before", v->noted),
			LOG_U("runs", v->empty_runs));
		return note(e, "empty-runs", 0, 0, err);
	}
	rc = note(e, "empty-runs", v->empty_runs, 0, err);
	if (rc != ST_OK)
		return rc;
	return err_set(err, ST_DENIED, EX_TEMPFAIL,
		"the maildrop is empty, but it held %" PRIu64
		" message%s before and popferry "
		"deleted none of them: did the login reach the right mailbox? From the %drd "
		"such run on it is believed",
		v->noted, text_s(v->noted), EMPTY_RUNS);
}

enum status visits_listed(struct engine *e, const struct listing *l, struct err *err)
{
	struct visits *v = &e->visits;
	uint64_t removed = 0;
	enum status rc = journal_removed_count(e->journal, &removed, err);

	v->windowed |= l->windowed;
	v->steady = l->steady;
	v->before = v->now;
	v->now = l->n;
	v->reset_told = false;
	if (rc == ST_OK && v->listings++ == 0 && l->n == 0 && !l->steady)
		rc = disbelieve(e, removed, err);
	if (rc == ST_OK && l->n && v->empty_runs)
		rc = note(e, "empty-runs", 0, 0, err);
	if (rc != ST_OK)
		return rc;
	if (l->n)
		v->empty_runs = 0;
	if (v->noted == l->n && v->noted_removed == removed)
		return ST_OK;
	v->noted = l->n;
	v->noted_removed = removed;
	return note(e, "listed", (int64_t)l->n, (int64_t)removed, err);
}

/* ---- another session for what this one did not give ---- */

bool visits_put_off(struct engine *e, struct task *t, const struct err *why)
{
	struct put_off *p;

	/* One that failed before gets its new try in each run. */
	if (e->job->limit || t->failed || e->n_put_off == PUT_OFF_MAX ||
		t->put_off == UINT8_MAX || visits_due(e) > LOGIN_WAIT_S * 1000)
		return false;
	t->put_off++;
	if (!why)
		return true;
	e->put_off = xreallocarray(e->put_off, e->n_put_off + 1, sizeof(*p));
	p = &e->put_off[e->n_put_off++];
	p->task = (size_t)(t - e->tasks.v);
	p->why = *why;
	return true;
}
