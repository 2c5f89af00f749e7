/*
 * next.c: the source's next session, begun before it is needed.
 *
 * A session that brings news is followed by another one, to see what came meanwhile. What
 * needs no login of that, the connection and TLS, is done in a thread while the last
 * messages come in; and where the one before may be left before all is stored, the
 * login too, while the destinations are at work. That it could not be begun costs
 * nothing: it is opened when it is needed.
 */
#include <popferry/mem.h>

#include "engine_p.h"

#include <string.h>

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

static void *meet(void *arg)
{
	struct engine *e = arg;
	struct next *x = &e->next;
	struct source *src = NULL;

	x->rc = e->source_ops->meet(&src, &x->setup, &x->err);
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
	x->begun = x->running = !pthread_create(&x->thread, NULL, meet, e);
}

static void met(struct engine *e)
{
	if (e->next.running)
		pthread_join(e->next.thread, NULL);
	e->next.running = false;
}

void next_enter(struct engine *e)
{
	struct next *x = &e->next;
	struct source *src;

	met(e);
	if (!x->begun || x->rc != ST_OK || atomic_load(&e->stop))
		return;
	src = x->src;
	x->rc = e->source_ops->open(&src, &x->setup, &x->err);
	keep(e, src);
	x->entered = true;
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
	if (x->setup.cautious != now.cautious || x->setup.any_size != now.any_size ||
		x->setup.no_capa != now.no_capa)
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
