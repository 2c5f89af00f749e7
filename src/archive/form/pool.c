/* pool.c: with readback.c the only one of the archive that knows threads. */
#include "pool.h"

#include <popferry/mem.h>

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	THREADS_MAX = 4,
	/* Under way; a piece that is larger goes alone. So memory has a bound. */
	POOL_BYTES = 3584 * 1024,
	/* Of those under way, of the one being filled, and of what is read back. */
	SPARE_MAX = THREADS_MAX + 2,
};

struct piece {
	struct piece *next;
	struct buf b; /* first what was given, then what came of it */
	size_t given;
	bool last, light, done;
	enum status rc;
	struct err err;
};

struct pool {
	enum archive_codec codec;
	unsigned wanted, threads;
	pthread_t thread[THREADS_MAX];
	struct packer *own; /* of the caller, when no thread could be had */
	bool started;
	/* Under way. */
	unsigned pieces;
	uint64_t bytes;

	pthread_mutex_t lock;
	pthread_cond_t work, done;
	struct piece *head, **tail; /* in the order they were given */
	struct piece *todo;         /* the first that nobody has begun */
	bool quit;

	struct piece *taken; /* the caller's */

	/* Memory of pieces that is not in use, each with room for any. */
	size_t room;
	struct buf spare[SPARE_MAX];
	size_t spares;
	pthread_cond_t freed;
	bool lent, filling, reading, reader_last, no_more;
};

static unsigned thread_count(unsigned wanted)
{
	long n = wanted ? (long)wanted : sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > THREADS_MAX ? THREADS_MAX : (unsigned)n;
}

void pool_open(struct pool **out, enum archive_codec c, unsigned threads, size_t room)
{
	struct pool *p = xcalloc(1, sizeof(*p));

	p->codec = c;
	p->room = room;
	p->wanted = thread_count(threads);
	/* zstd does several times as much, and in larger pieces. */
	if (!threads && c == ARCHIVE_ZST)
		p->wanted = (p->wanted + 1) / 2;
	p->tail = &p->head;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->done, NULL);
	pthread_cond_init(&p->freed, NULL);
	*out = p;
}

/* ---- memory ---- */

size_t pool_piece(const struct pool *p)
{
	return p->room;
}

/* All there may be, once: one that grows by and by leaves holes of its former sizes. */
static struct buf memory_new(const struct pool *p)
{
	struct buf b = BUF_INIT(p->room);

	b.cap = p->room + 1;
	b.p = xmalloc(b.cap);
	return b;
}

static struct buf memory_get(struct pool *p)
{
	return p->spares ? p->spare[--p->spares] : memory_new(p);
}

static void memory_back(struct pool *p, struct buf *b)
{
	if (b->p)
		p->spare[p->spares++] = *b;
	*b = (struct buf)BUF_INIT(p->room);
	pthread_cond_broadcast(&p->freed);
}

/* By turns where both want it: else the one or the other would fall behind. */
static bool fill_waits(const struct pool *p)
{
	return p->spares ? p->spares == 1 && p->reading && !p->reader_last : p->lent;
}

static bool reader_waits(const struct pool *p)
{
	/* Where nothing is packed nothing comes back. */
	return p->spares ? p->spares == 1 && p->filling && p->reader_last : p->started;
}

void pool_room(struct pool *p, struct buf *b)
{
	if (b->p)
		return;
	pthread_mutex_lock(&p->lock);
	p->filling = true;
	while (fill_waits(p))
		pthread_cond_wait(&p->freed, &p->lock);
	p->filling = p->reader_last = false;
	*b = memory_get(p);
	pthread_cond_broadcast(&p->freed);
	pthread_mutex_unlock(&p->lock);
	buf_clear(b);
}

bool pool_lend(struct pool *p, struct buf *b)
{
	bool good;

	pthread_mutex_lock(&p->lock);
	p->reading = true;
	while (reader_waits(p) && !p->no_more)
		pthread_cond_wait(&p->freed, &p->lock);
	p->reading = false;
	good = !reader_waits(p);
	if (good) {
		p->lent = p->reader_last = true;
		*b = memory_get(p);
	}
	pthread_cond_broadcast(&p->freed);
	pthread_mutex_unlock(&p->lock);
	return good;
}

void pool_lent(struct pool *p, struct buf *b)
{
	if (!b->p)
		return;
	pthread_mutex_lock(&p->lock);
	p->lent = false;
	memory_back(p, b);
	pthread_mutex_unlock(&p->lock);
}

void pool_lend_no_more(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->no_more = true;
	pthread_cond_broadcast(&p->freed);
	pthread_mutex_unlock(&p->lock);
}

/* ---- the threads ---- */

static void pack(struct packer *packer, struct piece *c)
{
	packer_light(packer, c->light);
	c->rc = packer_run(packer, &c->b, &c->err);
}

/* The next piece to be done; NULL: there will be none. */
static struct piece *get_work(struct pool *p)
{
	struct piece *c;

	while (!p->todo && !p->quit)
		pthread_cond_wait(&p->work, &p->lock);
	c = p->quit ? NULL : p->todo;
	if (c)
		p->todo = c->next;
	return c;
}

static void *pack_all(void *arg)
{
	struct pool *p = arg;
	struct packer *packer;
	struct piece *c;

	packer_open(&packer, p->codec);
	pthread_mutex_lock(&p->lock);
	while ((c = get_work(p))) {
		pthread_mutex_unlock(&p->lock);
		pack(packer, c);
		pthread_mutex_lock(&p->lock);
		c->done = true;
		if (c == p->head)
			pthread_cond_signal(&p->done);
	}
	pthread_mutex_unlock(&p->lock);
	packer_close(&packer);
	return NULL;
}

static void start(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->started = true;
	pthread_mutex_unlock(&p->lock);
	while (p->threads < p->wanted &&
		pthread_create(&p->thread[p->threads], NULL, pack_all, p) == 0)
		p->threads++;
	if (p->threads == 0)
		packer_open(&p->own, p->codec);
}

/* ---- the caller ---- */

bool pool_full(const struct pool *p, size_t n)
{
	/* The next one waits in the caller's hands as well as it would here. */
	return p->pieces && (p->pieces >= p->wanted || p->bytes + n > POOL_BYTES);
}

uint64_t pool_bytes(const struct pool *p)
{
	return p->bytes;
}

void pool_give(struct pool *p, struct buf *b, bool last, bool light)
{
	struct piece *c = xcalloc(1, sizeof(*c));

	c->b = *b;
	*b = (struct buf)BUF_INIT(p->room);
	c->given = c->b.n;
	c->last = last;
	c->light = light;
	c->err = (struct err)ERR_INIT;
	p->pieces++;
	p->bytes += c->given;
	if (!p->started)
		start(p);
	if (p->own) {
		pack(p->own, c);
		c->done = true;
	}
	pthread_mutex_lock(&p->lock);
	*p->tail = c;
	p->tail = &c->next;
	if (!p->todo && !p->own)
		p->todo = c;
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
}

void pool_done(struct pool *p)
{
	if (!p->taken)
		return;
	pthread_mutex_lock(&p->lock);
	memory_back(p, &p->taken->b);
	pthread_mutex_unlock(&p->lock);
	free(p->taken);
	p->taken = NULL;
}

enum status pool_take(
	struct pool *p, bool wait, const struct buf **b, bool *last, struct err *err)
{
	struct piece *c;

	pool_done(p);
	pthread_mutex_lock(&p->lock);
	while (p->head && !p->head->done && wait)
		pthread_cond_wait(&p->done, &p->lock);
	c = p->head && p->head->done ? p->head : NULL;
	if (c) {
		p->head = c->next;
		if (!p->head)
			p->tail = &p->head;
	}
	pthread_mutex_unlock(&p->lock);
	if (!c)
		return ST_END;
	p->taken = c;
	p->pieces--;
	p->bytes -= c->given;
	*b = &c->b;
	*last = c->last;
	if (c->rc < 0)
		return err_set(err, c->rc, c->err.exit, "%s", c->err.text);
	return ST_OK;
}

static void free_pieces(struct piece *c)
{
	while (c) {
		struct piece *next = c->next;

		buf_free(&c->b);
		free(c);
		c = next;
	}
}

void pool_close(struct pool **pp)
{
	struct pool *p = *pp;

	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->quit = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	while (p->threads)
		pthread_join(p->thread[--p->threads], NULL);
	packer_close(&p->own);
	pool_done(p);
	free_pieces(p->head);
	while (p->spares)
		buf_free(&p->spare[--p->spares]);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->done);
	pthread_cond_destroy(&p->freed);
	free(p);
	*pp = NULL;
}

/* ---- work of any other kind ---- */

struct each {
	pthread_mutex_t lock;
	size_t next, n;
	void (*work)(void *ctx, size_t i);
	void *ctx;
};

static void *each_all(void *arg)
{
	struct each *e = arg;

	for (;;) {
		size_t i;

		pthread_mutex_lock(&e->lock);
		i = e->next;
		e->next += i < e->n;
		pthread_mutex_unlock(&e->lock);
		if (i == e->n)
			return NULL;
		e->work(e->ctx, i);
	}
}

void pool_each(unsigned threads, size_t n, void (*work)(void *ctx, size_t i), void *ctx)
{
	struct each e = { .n = n, .work = work, .ctx = ctx };
	pthread_t thread[THREADS_MAX];
	unsigned most = thread_count(threads), k = 0;

	pthread_mutex_init(&e.lock, NULL);
	while (k + 1 < most && k + 1 < n &&
		pthread_create(&thread[k], NULL, each_all, &e) == 0)
		k++;
	each_all(&e);
	while (k)
		pthread_join(thread[--k], NULL);
	pthread_mutex_destroy(&e.lock);
}
