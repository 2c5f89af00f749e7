/*
 * pump.c: the source's thread and the queue to the consumer.
 *
 * The only file that knows threads besides the stop's watcher (run.c). The
 * thread owns the source while it runs; parcels change hands through the
 * queue, which is bounded in bytes and messages so that a slow destination
 * holds the source back and memory stays where it is.
 */
#include <popferry/clock.h>
#include <popferry/fault.h>
#include <popferry/mem.h>

#include "engine_p.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	NEAR_MS =
		1500, /* so long before the end, as things go, the next session is begun */
	ENTER_MS = 300,                 /* and so long before, it logs in */
	NEAR_TOOK_MS = 100,             /* how they go is known after so long */
	NEAR_BYTES = 32 << 20,          /* that is near in any case, on most lines */
	GUESS_SIZE = 64 * 1024,         /* of a message whose size is not known, */
	GUESS_MAX = 1024 * 1024 * 1024, /* or not to be believed */
};

struct pump {
	struct engine *e;
	struct source *src;
	const uint32_t *order; /* tasks to fetch */
	size_t n, wanted, served;
	uint64_t came, left; /* bytes, as listed */
	int64_t began_ms;
	bool follow, enter, blind;
	struct parting *parting; /* or NULL */
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct parcel *head, **tail;
	uint64_t bytes, most;
	uint64_t enough; /* for a batch */
	size_t count;
	size_t refused; /* in a row */
	bool ended, quit;
	bool winding;       /* no more is asked for */
	bool weary;         /* the server refuses one after the other */
	enum oddity oddity; /* of the message at which it failed */
	uint32_t got;       /* bytes of it */
	enum status rc;
	struct err err;
};

void parcel_free(struct parcel *p)
{
	size_t k;

	if (!p)
		return;
	message_free(&p->message);
	for (k = 0; p->run && k < SINKS_MAX; k++)
		free(p->run->delivery[k].err);
	free(p->why);
	free(p->origin);
	free(p->run);
	free(p);
}

static uint64_t weight(const struct parcel *p)
{
	return PARCEL_BYTES + (p->message ? p->message->facts.size : 0);
}

static bool is_enough(const struct pump *p)
{
	return p->count >= engine_batch_count(p->e) || p->bytes >= p->enough;
}

/* False when the consumer wants no more. */
static bool push(struct pump *p, struct parcel *parcel)
{
	bool ok;

	pthread_mutex_lock(&p->lock);
	while (!p->quit && p->count && (p->bytes >= p->most || p->count >= QUEUE_COUNT))
		pthread_cond_wait(&p->changed, &p->lock);
	ok = !p->quit;
	if (ok) {
		parcel->next = NULL;
		*p->tail = parcel;
		p->tail = &parcel->next;
		p->bytes += weight(parcel);
		/* The consumer wants to know of the first, and of enough; not of
		 * each. */
		if (!p->count++ || is_enough(p))
			pthread_cond_broadcast(&p->changed);
	}
	pthread_mutex_unlock(&p->lock);
	return ok;
}

static void announce(struct pump *p)
{
	while (p->wanted < p->n && p->wanted - p->served < AHEAD) {
		const struct task *t = &p->e->tasks.v[p->order[p->wanted++]];

		p->src->ops->want(p->src, t->number, t->size);
	}
}

static void count_fetched(struct engine *e, const struct parcel *p)
{
	pthread_mutex_lock(&e->lock);
	e->progress.fetched++;
	if (p->message)
		e->progress.fetched_bytes += p->message->facts.size;
	pthread_mutex_unlock(&e->lock);
}

/* Of the message that was delivered last. */
static struct origin *origin_of(const struct source *src)
{
	const struct origin *o = src->ops->origin ? src->ops->origin(src) : NULL;

	return o ? origin_copy(o) : NULL;
}

static enum status fetch_one(struct pump *p, struct parcel **out, struct err *err)
{
	struct message_maker *mk;
	uint32_t number = 0;
	struct parcel *parcel = xcalloc(1, sizeof(*parcel));
	enum status rc;

	message_begin(&mk, p->e->spool);
	if (p->blind)
		message_keep_first(mk, NOTICE_FIRST);
	else
		message_expect(mk, p->e->tasks.v[p->order[p->served]].size);
	/* With message_put itself: an archive then digests nothing once more. */
	rc = p->src->ops->next(p->src, &number, message_put, mk, err);
	p->got = (uint32_t)message_came(mk);
	p->oddity = rc == ST_END ? ODD_NONE : p->src->ops->oddity(p->src);
	p->refused = rc == ST_SKIP && err->exit == EX_TEMPFAIL ? p->refused + 1 : 0;
	if (rc == ST_OK) {
		rc = message_end(&mk, &parcel->message, err);
	} else {
		message_drop(&mk);
		if (rc == ST_SKIP) {
			parcel->why = xmalloc(sizeof(*err));
			*parcel->why = *err;
			rc = ST_OK;
		}
	}
	if (rc == ST_OK && number != p->e->tasks.v[p->order[p->served]].number)
		rc = err_set(err, ST_FATAL, EX_SOFTWARE,
			"message %u came that was not asked for", number);
	if (rc != ST_OK) {
		parcel_free(parcel);
		return rc;
	}
	parcel->task = p->order[p->served];
	parcel->retrieved = clock_utc();
	parcel->oddity = p->oddity;
	parcel->origin = origin_of(p->src);
	*out = parcel;
	return ST_OK;
}

/* After a stop: what was asked for is let in, and no more. */
static void mind_stop(struct pump *p)
{
	if (p->winding || !atomic_load(&p->e->stop))
		return;
	p->winding = true;
	p->wanted = p->n;
	p->src->ops->wind_down(p->src);
}

static uint64_t listed_size(const struct pump *p, size_t i)
{
	uint64_t size = p->e->tasks.v[p->order[i]].size;

	return size < GUESS_MAX ? size : GUESS_SIZE;
}

/* As things go, it takes no more than so many milliseconds until all is there. */
static bool is_near(const struct pump *p, int64_t took, uint64_t ms)
{
	return took >= NEAR_TOOK_MS && p->left / ms <= p->came / (uint64_t)took;
}

/* The end is so near that it is time for what comes after. */
static void look_ahead(struct pump *p)
{
	int64_t took;

	if (!p->follow && !p->enter)
		return;
	took = clock_ms() - p->began_ms;
	if (p->follow && (p->left <= NEAR_BYTES || is_near(p, took, NEAR_MS))) {
		p->follow = false;
		next_meet(p->e);
	}
	if (p->enter && is_near(p, took, ENTER_MS)) {
		p->enter = false;
		next_enter(p->e);
	}
}

/* All is fetched: nothing more is needed of this session. */
static void part(struct pump *p)
{
	struct parting *how = p->parting;

	if (!how || p->served < p->n || p->rc != ST_END)
		return;
	next_enter(p->e);
	next_due(p->e);
	how->rc = p->src->ops->finish(p->src, &how->err);
	how->done = true;
}

static void *fetch_all(void *arg)
{
	struct pump *p = arg;
	struct err err = ERR_INIT;
	enum status rc = ST_END;

	while (p->served < p->n) {
		struct parcel *parcel;

		look_ahead(p);
		mind_stop(p);
		announce(p);
		rc = fetch_one(p, &parcel, &err);
		if (rc != ST_OK)
			break;
		p->came += listed_size(p, p->served);
		p->left -= listed_size(p, p->served);
		p->served++;
		count_fetched(p->e, parcel);
		if (!push(p, parcel)) {
			parcel_free(parcel);
			rc = err_set(&err, ST_RETRY, EX_TEMPFAIL, "stopped");
			break;
		}
		rc = ST_END;
		/* "Download exceed": a new session gets some more (quirk Q54). */
		if (p->refused >= REFUSED_ROW && p->served > p->refused) {
			p->weary = true;
			rc = err_set(&err, ST_RETRY, EX_TEMPFAIL,
				"the source refuses one message after the other; trying in a new "
				"session");
			break;
		}
	}
	pthread_mutex_lock(&p->lock);
	p->ended = true;
	p->rc = rc;
	p->err = err;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	part(p);
	return NULL;
}

static void pump_free(struct pump **pp)
{
	struct pump *p = *pp;

	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->changed);
	free(p);
	*pp = NULL;
}

enum status pump_start(struct pump **out, struct engine *e, struct source *src,
	const uint32_t *order, size_t n, bool follow, struct parting *parting,
	struct err *err)
{
	struct pump *p = xcalloc(1, sizeof(*p));
	pthread_condattr_t attr;
	size_t i;
	int no;

	p->e = e;
	p->src = src;
	p->order = order;
	p->n = n;
	p->follow = follow;
	p->blind = engine_is_blind(e);
	p->parting = parting;
	/* Nothing that is fetched changes what the next session sees. */
	p->enter = parting != NULL;
	p->began_ms = clock_ms();
	p->tail = &p->head;
	p->most = deliver_most(e);
	p->enough = e->batch_bytes;
	p->err = (struct err)ERR_INIT;
	for (i = 0; i < n; i++)
		p->left += listed_size(p, i);
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->changed, &attr);
	pthread_condattr_destroy(&attr);
	no = pthread_create(&p->thread, NULL, fetch_all, p);
	if (no) {
		pump_free(&p);
		return engine_no_thread(no, err);
	}
	*out = p;
	return ST_OK;
}

static struct parcel *pop(struct pump *p)
{
	struct parcel *parcel = p->head;

	if (!parcel)
		return NULL;
	p->head = parcel->next;
	if (!p->head)
		p->tail = &p->head;
	p->bytes -= weight(parcel);
	p->count--;
	return parcel;
}

static bool wait_until(struct pump *p, int64_t until)
{
	struct timespec t = { until / 1000, until % 1000 * 1000000 };

	return pthread_cond_timedwait(&p->changed, &p->lock, &t) == 0;
}

size_t pump_take(
	struct pump *p, struct parcel **batch, int wait_ms, bool patient, bool *ended)
{
	int64_t until = clock_ms() + wait_ms;
	uint64_t bytes = 0;
	size_t n = 0, most = engine_batch_count(p->e);

	pthread_mutex_lock(&p->lock);
	p->enough = p->e->batch_bytes;
	while (patient && !p->head && !p->ended)
		pthread_cond_wait(&p->changed, &p->lock);
	if (patient)
		until = clock_ms() + wait_ms;
	while (!is_enough(p) && !p->ended && wait_until(p, until))
		;
	if (patient || p->ended || is_enough(p)) {
		while (p->head && n < most && bytes < p->enough) {
			bytes += weight(p->head);
			batch[n++] = pop(p);
		}
		pthread_cond_broadcast(&p->changed);
	}
	*ended = !n && !p->head && p->ended;
	pthread_mutex_unlock(&p->lock);
	return n;
}

bool pump_parts(struct pump *p)
{
	bool yes;

	pthread_mutex_lock(&p->lock);
	yes = p->parting && p->ended && p->rc == ST_END && p->served == p->n;
	pthread_mutex_unlock(&p->lock);
	return yes;
}

enum status pump_stop(
	struct pump **pp, bool failed, struct suspect *suspect, struct err *err)
{
	struct pump *p = *pp;
	struct parcel *parcel;
	enum status rc;
	bool stopped;

	pthread_mutex_lock(&p->lock);
	p->quit = true;
	stopped = !p->ended;
	pthread_cond_broadcast(&p->changed);
	if (!p->ended || failed)
		p->src->ops->cancel(p->src);
	pthread_mutex_unlock(&p->lock);
	if (failed)
		next_cancel(p->e);
	pthread_join(p->thread, NULL);
	while ((parcel = pop(p)))
		parcel_free(parcel);
	rc = p->rc;
	*suspect = (struct suspect){ NULL, p->got, p->oddity };
	if (rc != ST_END)
		*err = p->err;
	if (rc == ST_RETRY && !stopped && !p->weary && p->served < p->n)
		suspect->task = &p->e->tasks.v[p->order[p->served]];
	pump_free(pp);
	return rc;
}
