/* pool.c: the memory of pieces, which is lent to another thread between them. */
#include "../../src/archive/form/pool.h"

#include <popferry/mem.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROOM = 64 * 1024, PIECES = 300, PLACES = 16 };

struct places {
	const void *v[PLACES];
	size_t n;
};

static void note(struct places *s, const void *p)
{
	size_t i;

	for (i = 0; i < s->n && s->v[i] != p; i++)
		;
	if (i == s->n && s->n < PLACES)
		s->v[s->n++] = p;
}

static void fill(struct buf *b, size_t no)
{
	size_t i, n = ROOM - no;

	for (i = 0; i < n; i++)
		b->p[i] = (char)(i * i % 251 + no);
	b->n = n;
}

/* ---- another thread, that spoils what it is lent ---- */

struct reader {
	struct pool *pool;
	atomic_uint had;
	atomic_bool enough;
	struct places places;
};

static void *read_all(void *arg)
{
	struct reader *r = arg;
	struct buf b;

	while (!atomic_load(&r->enough) && pool_lend(r->pool, &b)) {
		assert_true(b.cap > ROOM);
		memset(b.p, 'x', b.cap);
		note(&r->places, b.p);
		atomic_fetch_add(&r->had, 1);
		pool_lent(r->pool, &b);
		assert_null(b.p);
	}
	return NULL;
}

static void took(struct pool *p, bool wait, size_t *no, struct packer *packer)
{
	struct buf want = BUF_INIT(ROOM);
	struct err err = ERR_INIT;
	const struct buf *is;
	bool last;

	want.cap = ROOM + 1;
	want.p = xmalloc(want.cap);
	while (pool_take(p, wait, &is, &last, &err) == ST_OK) {
		fill(&want, *no);
		assert_int_equal(packer_run(packer, &want, &err), ST_OK);
		assert_int_equal(is->n, want.n);
		assert_memory_equal(is->p, want.p, want.n);
		assert_int_equal(last, *no % 7 == 0);
		pool_done(p);
		buf_clear(&want);
		++*no;
	}
	buf_free(&want);
}

/* Nobody starves, nothing is spoilt, and with one packer there are two pieces. */
static void both_have_memory(void **state)
{
	struct reader r = { .pool = NULL };
	struct buf b = BUF_INIT(ROOM);
	struct places places = { .n = 0 };
	struct packer *packer;
	pthread_t thread;
	size_t i, no = 0;

	(void)state;
	pool_open(&r.pool, ARCHIVE_ZST, 1, ROOM);
	packer_open(&packer, ARCHIVE_ZST);
	for (i = 0; i < PIECES; i++) {
		unsigned had = atomic_load(&r.had);

		pool_room(r.pool, &b);
		note(&places, b.p);
		fill(&b, i);
		while (pool_full(r.pool, b.n))
			took(r.pool, true, &no, packer);
		pool_give(r.pool, &b, i % 7 == 0, false);
		assert_null(b.p);
		if (i == 0)
			assert_int_equal(
				pthread_create(&thread, NULL, read_all, &r), 0);
		took(r.pool, false, &no, packer);
		if (i > 10 && i < 20) {
			/* All are back: now it has some. */
			took(r.pool, true, &no, packer);
			while (atomic_load(&r.had) == had)
				;
		}
	}
	took(r.pool, true, &no, packer);
	assert_int_equal(no, PIECES);
	atomic_store(&r.enough, true);
	pool_lend_no_more(r.pool);
	pthread_join(thread, NULL);
	assert_true(places.n <= 2);
	for (i = 0; i < r.places.n; i++)
		note(&places, r.places.v[i]);
	assert_true(places.n <= 2);
	packer_close(&packer);
	pool_close(&r.pool);
	buf_free(&b);
}

/* What is given up does not keep it waiting. */
static void no_more(void **state)
{
	struct reader r = { .pool = NULL };
	struct buf b = BUF_INIT(ROOM);
	pthread_t thread;

	(void)state;
	pool_open(&r.pool, ARCHIVE_ZST, 1, ROOM);
	pool_room(r.pool, &b);
	fill(&b, 1);
	pool_give(r.pool, &b, true, false);
	assert_int_equal(pthread_create(&thread, NULL, read_all, &r), 0);
	pool_lend_no_more(r.pool);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&r.had), 0);
	pool_close(&r.pool);
}

/* Where nothing is packed, nothing comes back that could be lent. */
static void nothing_packed(void **state)
{
	struct buf a = BUF_INIT(ROOM), b = BUF_INIT(0);
	struct pool *p;

	(void)state;
	pool_open(&p, ARCHIVE_NONE, 1, ROOM);
	pool_room(p, &a);
	assert_true(pool_lend(p, &b));
	assert_ptr_not_equal(a.p, b.p);
	pool_lent(p, &b);
	pool_lent(p, &b);
	buf_free(&a);
	pool_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_have_memory),
		cmocka_unit_test(no_more),
		cmocka_unit_test(nothing_packed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
