/*
 * exec.c: each message to a program, several at once.
 *
 * One thread reads the archive and fills the lanes, each of which has a ring of
 * bytes and a thread that runs the program. So no message is held in whole, and none
 * that is damaged is ever given.
 */
#include "own.h"

#include <popferry/hand.h>
#include <popferry/mem.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RING = 1024 * 1024, LANES_MAX = 256 };

struct crew;
struct lane {
	struct crew *crew;
	pthread_t thread;
	bool busy;              /* it has a message */
	bool whole;             /* all of it is in the ring */
	bool broken;            /* it ends here, and should not */
	bool done;              /* the program wants no more of it */
	struct archive_row row; /* its texts are copies */
	char *texts;
	char *ring;
	size_t head, n; /* where what is in it begins, and how much that is */
	size_t lent;    /* of these are with the program */
};

struct crew {
	struct export *x;
	struct lane *lanes;
	size_t n;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool quit;
	struct err err; /* the first failure */
	enum status rc;
};

/* ---- a lane ---- */

/* What the program has taken makes room; then what comes next, in one piece. */
static enum status lane_give(void *ctx, const char **p, size_t *n, struct err *err)
{
	struct lane *l = ctx;
	struct crew *c = l->crew;
	enum status rc = ST_OK;

	pthread_mutex_lock(&c->lock);
	l->head = (l->head + l->lent) % RING;
	l->n -= l->lent;
	l->lent = 0;
	pthread_cond_broadcast(&c->changed);
	while (!l->n && !l->whole && !l->broken)
		pthread_cond_wait(&c->changed, &c->lock);
	l->lent = l->n < RING - l->head ? l->n : RING - l->head;
	*p = l->ring + l->head;
	*n = l->lent;
	if (!l->n && l->broken)
		rc = err_set(err, ST_END, 0, "given up");
	pthread_mutex_unlock(&c->lock);
	return rc;
}

/* A mail_take: waits for room, or until nobody wants it any more. */
static void lane_put(void *lane, const char *p, size_t n)
{
	struct lane *l = lane;
	struct crew *c = l->crew;

	pthread_mutex_lock(&c->lock);
	while (n && !l->done) {
		size_t tail = (l->head + l->n) % RING, room = RING - l->n, k;

		if (!room) {
			pthread_cond_wait(&c->changed, &c->lock);
			continue;
		}
		k = room < RING - tail ? room : RING - tail;
		k = k < n ? k : n;
		memcpy(l->ring + tail, p, k);
		l->n += k;
		p += k;
		n -= k;
		pthread_cond_broadcast(&c->changed);
	}
	pthread_mutex_unlock(&c->lock);
}

static enum status hand_over(struct lane *l, struct hand_answer *a, struct err *err)
{
	const struct export_job *job = l->crew->x->job;
	const struct archive_row *r = &l->row;
	char seq[24], size[24];
	const struct hand_value env[] = {
		{ "POPFERRY_SEQ", seq, 0 },
		{ "POPFERRY_SIZE", size, 0 },
		{ "POPFERRY_SHA256", r->sha256, 0 },
		{ "POPFERRY_FOLDER", r->folder, 0 },
		{ "POPFERRY_UIDL", r->uidl, 0 },
		{ "POPFERRY_MESSAGE_ID", r->message_id, 0 },
		{ "POPFERRY_DATE", r->date, 0 },
		{ "POPFERRY_FLAGS", r->flags, 0 },
		{ "POPFERRY_ANOMALIES", r->anomalies, 0 },
	};
	struct hand_value all[N_ELEMENTS(env)];
	size_t i;

	snprintf(seq, sizeof(seq), "%" PRIu64, r->seq);
	snprintf(size, sizeof(size), "%" PRIu64, r->size);
	for (i = 0; i < N_ELEMENTS(env); i++)
		all[i] = (struct hand_value){ env[i].name, env[i].value,
			strlen(env[i].value) };
	return hand_run(
		job->hand, all, N_ELEMENTS(all), lane_give, l, job->stop_fd, a, err);
}

static void *work(void *arg)
{
	struct lane *l = arg;
	struct crew *c = l->crew;
	struct hand_answer a;
	struct err err;
	enum status rc;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		while (!l->busy && !c->quit)
			pthread_cond_wait(&c->changed, &c->lock);
		if (!l->busy)
			break;
		pthread_mutex_unlock(&c->lock);
		err = (struct err)ERR_INIT;
		rc = hand_over(l, &a, &err);
		pthread_mutex_lock(&c->lock);
		l->done = true;
		pthread_cond_broadcast(&c->changed);
		while (!l->whole && !l->broken)
			pthread_cond_wait(&c->changed, &c->lock);
		if (rc == ST_OK && !l->broken) {
			c->x->done->good += a.end == HAND_EXIT && a.code == 0;
			c->x->job->ran(c->x->job->ctx, &l->row, &a);
		} else if (rc < 0 && c->rc == ST_OK) {
			c->rc = rc;
			c->err = err;
		}
		l->busy = false;
		pthread_cond_broadcast(&c->changed);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* ---- the crew ---- */

static enum status exec_begin(struct export *x, struct err *err)
{
	struct crew *c = xcalloc(1, sizeof(*c));
	unsigned at_once = x->job->at_once ? x->job->at_once : 1;
	int no = 0;

	x->own = c;
	c->x = x;
	c->err = (struct err)ERR_INIT;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	if (at_once > LANES_MAX)
		at_once = LANES_MAX;
	c->lanes = xcalloc(at_once, sizeof(*c->lanes));
	for (; c->n < at_once; c->n++) {
		struct lane *l = &c->lanes[c->n];

		l->crew = c;
		l->ring = xmalloc(RING);
		no = pthread_create(&l->thread, NULL, work, l);
		if (no) {
			free(l->ring);
			break;
		}
	}
	if (c->n)
		return ST_OK;
	return err_set(
		err, ST_DENIED, EX_TEMPFAIL, "cannot start a thread: %s", strerror(no));
}

/* Its texts one behind the other in one piece of memory. */
static void keep_row(struct lane *l, const struct archive_row *row)
{
	const char **texts[] = { &l->row.segment, &l->row.path, &l->row.folder,
		&l->row.uidl, &l->row.sha256, &l->row.date, &l->row.date_utc,
		&l->row.retrieved, &l->row.from, &l->row.to, &l->row.cc,
		&l->row.subject, &l->row.message_id, &l->row.flags, &l->row.anomalies };
	size_t i, n = 0;
	char *p;

	l->row = *row;
	for (i = 0; i < N_ELEMENTS(texts); i++)
		n += strlen(*texts[i]) + 1;
	free(l->texts);
	p = l->texts = xmalloc(n);
	for (i = 0; i < N_ELEMENTS(texts); i++) {
		n = strlen(*texts[i]) + 1;
		memcpy(p, *texts[i], n);
		*texts[i] = p;
		p += n;
	}
}

static struct lane *free_lane(struct crew *c)
{
	size_t i;

	for (i = 0; i < c->n; i++)
		if (!c->lanes[i].busy)
			return &c->lanes[i];
	return NULL;
}

/* Called with the lock. */
static enum status failure(const struct crew *c, struct err *err)
{
	if (c->rc == ST_OK)
		return ST_OK;
	*err = c->err;
	return c->rc;
}

static enum status exec_put(struct export *x, const struct archive_row *row,
	const struct archive_mail *m, struct err *err)
{
	struct crew *c = x->own;
	struct lane *l;
	enum status rc;

	pthread_mutex_lock(&c->lock);
	while (!(l = free_lane(c)) && c->rc == ST_OK)
		pthread_cond_wait(&c->changed, &c->lock);
	rc = failure(c, err);
	if (rc == ST_OK) {
		keep_row(l, row);
		l->whole = l->broken = l->done = false;
		l->head = l->n = l->lent = 0;
		l->busy = true;
		pthread_cond_broadcast(&c->changed);
	}
	pthread_mutex_unlock(&c->lock);
	if (rc != ST_OK)
		return rc;
	rc = archive_mail_give(m, lane_put, l, err);
	pthread_mutex_lock(&c->lock);
	l->whole = rc == ST_OK;
	l->broken = rc != ST_OK;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	return rc;
}

static enum status exec_end(struct export *x, struct err *err)
{
	struct crew *c = x->own;
	enum status rc;
	size_t i;

	pthread_mutex_lock(&c->lock);
	for (i = 0; i < c->n; i++)
		while (c->lanes[i].busy)
			pthread_cond_wait(&c->changed, &c->lock);
	rc = failure(c, err);
	pthread_mutex_unlock(&c->lock);
	return rc;
}

/* What runs is waited for: it has its time, or was told to stop. */
static void exec_drop(struct export *x)
{
	struct crew *c = x->own;
	size_t i;

	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->quit = true;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	for (i = 0; i < c->n; i++) {
		pthread_join(c->lanes[i].thread, NULL);
		free(c->lanes[i].ring);
		free(c->lanes[i].texts);
	}
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->changed);
	free(c->lanes);
	free(c);
	x->own = NULL;
}

const struct format format_exec = { .name = "exec",
	.bytes = true,
	.nowhere = true,
	.begin = exec_begin,
	.put = exec_put,
	.end = exec_end,
	.drop = exec_drop };
