/*
 * next.c: the source's next session, begun before it is needed.
 *
 * A session that brings news is followed by another one, to see what came meanwhile.
 * What needs no login of that, the connection and TLS, is done in a thread while the
 * last messages come in; and where the one before may be left before all is stored, the
 * login too, just before all is there. That it could not be begun costs nothing: it is
 * opened when it is needed.
 */
#include <popferry/clock.h>
#include <popferry/mem.h>

#include "engine_p.h"

#include <string.h>

/* What it saw so long before the end is no look at what came meanwhile. */
enum { STALE_MS = 2000 };

void session_setup(const struct engine *e, struct source_setup *out)
{
	*out = (struct source_setup){
		.end = &e->job->source,
		.password = e->source_password,
		.trace = e->trace,
		.log = &e->log,
		.stop_fd = e->stop_fd,
		.cautious = e->source_cautious || e->careful,
		.any_size = e->visits.any_size,
		.no_capa = e->visits.no_capa,
		.deadline_ms = engine_deadline_ms(e),
		.record = e->recorder < e->n_slots,
	};
}

bool next_welcome(const struct engine *e)
{
	const struct visits *v = &e->visits;

	return e->source_ops->meet && !e->job->limit && !e->limited && !v->steady &&
		!v->interval_ms && (!v->unnamed || v->windowed);
}

static void keep(struct engine *e, struct source *src)
{
	pthread_mutex_lock(&e->lock);
	e->next.src = src;
	pthread_mutex_unlock(&e->lock);
}

/* Until it is told whether to log in. */
static bool told_to_enter(struct engine *e)
{
	bool yes;

	pthread_mutex_lock(&e->lock);
	while (e->next.order == NEXT_WAIT)
		pthread_cond_wait(&e->next.told, &e->lock);
	yes = e->next.order == NEXT_ENTER;
	pthread_mutex_unlock(&e->lock);
	return yes;
}

static void *meet(void *arg)
{
	struct engine *e = arg;
	struct next *x = &e->next;
	struct source *src = NULL;

	x->rc = e->source_ops->meet(&src, &x->setup, &x->err);
	keep(e, src);
	if (x->rc != ST_OK || !told_to_enter(e) || atomic_load(&e->stop))
		return NULL;
	x->entered = true;
	x->rc = e->source_ops->open(&src, &x->setup, &x->err);
	keep(e, src);
	return NULL;
}

void next_meet(struct engine *e)
{
	struct next *x = &e->next;

	if (x->begun || atomic_load(&e->stop))
		return;
	*x = (struct next){ .err = ERR_INIT };
	session_setup(e, &x->setup);
	pthread_cond_init(&x->told, NULL);
	x->begun = x->running = !pthread_create(&x->thread, NULL, meet, e);
}

static void order(struct engine *e, enum next_order what)
{
	pthread_mutex_lock(&e->lock);
	if (e->next.running && e->next.order == NEXT_WAIT) {
		e->next.order = what;
		e->next.ordered_ms = clock_ms();
		pthread_cond_signal(&e->next.told);
	}
	pthread_mutex_unlock(&e->lock);
}

/* The thread has done what it was to do. */
static void met(struct engine *e)
{
	struct next *x = &e->next;

	if (!x->running)
		return;
	order(e, NEXT_LEAVE);
	pthread_join(x->thread, NULL);
	pthread_cond_destroy(&x->told);
	x->running = false;
}

void next_enter(struct engine *e)
{
	order(e, NEXT_ENTER);
}

void next_due(struct engine *e)
{
	struct next *x = &e->next;

	pthread_mutex_lock(&e->lock);
	x->stale = x->order == NEXT_ENTER && clock_ms() - x->ordered_ms > STALE_MS;
	pthread_mutex_unlock(&e->lock);
}

void next_cancel(struct engine *e)
{
	pthread_mutex_lock(&e->lock);
	if (e->next.src)
		e->next.src->ops->cancel(e->next.src);
	pthread_mutex_unlock(&e->lock);
}

bool next_take(struct engine *e, struct source **src, enum status *rc, struct err *err)
{
	struct next *x = &e->next;
	struct source_setup now;

	met(e);
	session_setup(e, &now);
	/* What was learnt since may forbid it. */
	if (x->stale || x->setup.cautious != now.cautious ||
		x->setup.any_size != now.any_size || x->setup.no_capa != now.no_capa)
		next_drop(e);
	if (!x->begun)
		return false;
	x->begun = false;
	*src = x->src;
	*rc = x->rc;
	*err = x->err;
	keep(e, NULL);
	if (*rc == ST_OK && !x->entered)
		*rc = e->source_ops->open(src, &x->setup, err);
	return true;
}

void next_drop(struct engine *e)
{
	struct source *src;

	met(e);
	src = e->next.src;
	keep(e, NULL);
	if (src)
		src->ops->close(&src);
	e->next.begun = false;
}
