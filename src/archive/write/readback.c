/* readback.c: a thread that follows the writer, and compares what the file gives. */
#include "readback.h"
#include "../form/hash.h"
#include "../form/whole.h"

#include <popferry/mem.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct group {
	struct group *next;
	struct idx rows;
	uint64_t off, len, raw;
};

struct readback {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct group *head, **tail;
	bool quit;
	/* The thread's, until it has ended: */
	struct open_file f;
	enum archive_codec codec;
	char segment[NAME_MAX_SEGMENT];
	struct pool *pool;
	struct whole_reader *whole;
	struct segment_seen seen;
};

static void group_free(struct group *g)
{
	idx_free(&g->rows);
	free(g);
}

/* One that cannot be read at once, or is not what it should be. */
static bool look_closely(struct readback *r, struct group *g, struct err *err)
{
	struct segment_seen *s = &r->seen;
	struct sha sha = s->sha;
	struct unpacker *u = NULL;
	struct bytes *b = NULL;
	size_t i;
	bool good;

	for (i = 0; i < g->rows.n; i++) {
		g->rows.rows[i].off = g->off;
		g->rows.rows[i].len = g->len;
	}
	/* Anew each time: the file has grown. */
	good = open_file_bytes(&b, &r->f, err) == ST_OK &&
		segment_group(&u, b, r->codec, r->segment, &g->rows, s->n == 0,
			s->paths + s->n, err) &&
		hash_range(&sha, b, g->off, g->off + g->len, err) == ST_OK;
	/* Its memory is for this member only: few are as large. */
	unpacker_close(&u);
	bytes_close(&b);
	if (good)
		s->sha = sha;
	return good;
}

static bool look_at(struct readback *r, struct group *g, struct err *err)
{
	struct segment_seen *s = &r->seen;
	size_t n = g->rows.n;
	bool good;

	s->paths = xreallocarray(s->paths, s->n + n, sizeof(*s->paths));
	good = g->off == s->bytes &&
		(whole_read(r->whole, &r->f, g->off, g->len, g->raw, &g->rows,
			 s->n == 0, &s->sha, s->paths + s->n) ||
			look_closely(r, g, err));
	if (good) {
		s->n += n;
		s->bytes += g->len;
	}
	return good;
}

/* What is bad is told of when the segment is sealed. */
static void *follow(void *arg)
{
	struct readback *r = arg;
	struct err err = ERR_INIT;
	bool good = true;

	pthread_mutex_lock(&r->lock);
	for (;;) {
		struct group *g;

		while (!r->head && !r->quit)
			pthread_cond_wait(&r->more, &r->lock);
		g = r->quit ? NULL : r->head;
		if (!g)
			break;
		r->head = g->next;
		if (!r->head)
			r->tail = &r->head;
		pthread_mutex_unlock(&r->lock);
		good = good && look_at(r, g, &err);
		group_free(g);
		pthread_mutex_lock(&r->lock);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

static void destroy(struct readback *r)
{
	while (r->head) {
		struct group *g = r->head;

		r->head = g->next;
		group_free(g);
	}
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->more);
	whole_close(&r->whole);
	segment_seen_free(&r->seen);
	open_file_close(&r->f);
	free(r);
}

struct readback *readback_begin(struct open_file *f, enum archive_codec c,
	const char *segment, struct pool *pool)
{
	struct readback *r = xcalloc(1, sizeof(*r));

	r->f = *f;
	*f = OPEN_FILE_NONE;
	r->codec = c;
	snprintf(r->segment, sizeof(r->segment), "%s", segment);
	r->tail = &r->head;
	r->pool = pool;
	whole_open(&r->whole, c, segment, pool);
	sha_init(&r->seen.sha);
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->more, NULL);
	if (pthread_create(&r->thread, NULL, follow, r) != 0) {
		destroy(r);
		return NULL;
	}
	return r;
}

void readback_give(struct readback *r, const struct idx *rows, uint64_t off,
	uint64_t len, uint64_t raw)
{
	struct group *g = xcalloc(1, sizeof(*g));

	/* With no room for more: many may wait. */
	g->rows.rows = xreallocarray(NULL, rows->n, sizeof(*rows->rows));
	g->rows.n = rows->n;
	memcpy(g->rows.rows, rows->rows, rows->n * sizeof(*rows->rows));
	g->off = off;
	g->len = len;
	g->raw = raw;
	pthread_mutex_lock(&r->lock);
	*r->tail = g;
	r->tail = &g->next;
	pthread_cond_signal(&r->more);
	pthread_mutex_unlock(&r->lock);
}

void readback_end(struct readback **rp, struct segment_seen *seen)
{
	struct readback *r = *rp;

	*seen = (struct segment_seen){ 0 };
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->quit = true;
	pthread_cond_signal(&r->more);
	pthread_mutex_unlock(&r->lock);
	pool_lend_no_more(r->pool);
	pthread_join(r->thread, NULL);
	*seen = r->seen;
	r->seen = (struct segment_seen){ 0 };
	destroy(r);
	*rp = NULL;
}
