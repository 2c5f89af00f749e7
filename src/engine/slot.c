/*
 * slot.c: a destination of the job and its session: opening, and opening anew.
 */
#include <popferry/clock.h>
#include <popferry/mem.h>

#include "engine_p.h"

#include <stdlib.h>
#include <string.h>

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
		&e->log, e->stop_fd, s->cautious, engine_deadline_ms(e) };
	enum status rc;

	if (s->sink)
		return ST_OK;
	rc = s->ops->open(&s->sink, &setup, err);
	if (rc != ST_OK) {
		s->sink = NULL;
		return rc;
	}
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
	int asked = s->sink ? s->ops->wait_ms(s->sink) : 0;
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
enum status slot_tell(
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

int64_t slot_settle_ms(const struct engine *e, const struct slot *s)
{
	if (s->end->imap.settle)
		return (int64_t)s->end->imap.settle * 1000;
	return e->pace.settle_ms;
}
