/* order.c: which of the messages that were found come first. */
#include "own.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The subject counts most, then names of people and files, then the text. */
#define RANK "bm25(8.0, 4.0, 2.0, 2.0, 2.0, 1.0, 4.0)"

/* When one in so many was found, looking each up beats reading all dates. */
enum { FEW = 16 };

struct hit {
	uint32_t seq;
	int64_t date; /* or a number that is larger when it is later */
	double rank;  /* of FTS5: less is better */
};

static int by_date(const void *a, const void *b)
{
	const struct hit *x = a, *y = b;

	if (x->date != y->date)
		return x->date < y->date ? 1 : -1;
	return (x->seq < y->seq) - (x->seq > y->seq);
}

static int by_rank(const void *a, const void *b)
{
	const struct hit *x = a, *y = b;

	if (x->rank != y->rank)
		return x->rank > y->rank ? 1 : -1;
	return by_date(a, b);
}

static int by_seq(const void *a, const void *b)
{
	const struct hit *x = a, *y = b;

	return (x->seq > y->seq) - (x->seq < y->seq);
}

static struct hit *find_hit(struct hit *v, size_t n, int64_t seq)
{
	struct hit key = { .seq = (uint32_t)seq };

	return bsearch(&key, v, n, sizeof(*v), by_seq);
}

/* ---- dates ---- */

static bool is_few(const struct set *all, size_t n)
{
	return n < all->top / FEW;
}

static enum status date_each(struct search *s, struct hit *v, size_t n, struct err *err)
{
	sqlite3_stmt *st = sql_get(s, SQL_DATE, err);
	enum status rc = st ? ST_OK : err->status;
	size_t i;

	for (i = 0; rc >= 0 && i < n; i++) {
		sqlite3_bind_int64(st, 1, v[i].seq);
		rc = sql_step(s, st, err);
		if (rc == ST_OK) {
			v[i].date = sqlite3_column_int64(st, 0);
			sqlite3_reset(st);
		}
	}
	return rc < 0 ? rc : ST_OK;
}

/* The newest first, until there are n; the rest of the index is not read. */
static enum status walk_dates(struct search *s, const struct set *all, size_t n,
	void (*take)(void *ctx, uint32_t seq, size_t i), void *ctx, struct err *err)
{
	sqlite3_stmt *st = sql_get(s, SQL_BY_DATE, err);
	enum status rc = st ? ST_OK : err->status;
	size_t i = 0;

	while (rc == ST_OK && i < n) {
		rc = sql_step(s, st, err);
		if (rc == ST_OK) {
			int64_t seq = sqlite3_column_int64(st, 0);

			if (seq >= 0 && set_has(all, (uint32_t)seq))
				take(ctx, (uint32_t)seq, i++);
		}
	}
	if (st)
		sqlite3_reset(st);
	if (rc == ST_END)
		return err_set(err, ST_DENIED, EX_DATAERR, "the index makes no sense");
	return rc;
}

struct dating {
	struct hit *v;
	size_t n;
};

static void take_date(void *ctx, uint32_t seq, size_t i)
{
	struct dating *d = ctx;
	struct hit *h = find_hit(d->v, d->n, seq);

	if (h)
		h->date = -(int64_t)i;
}

static enum status date_all(struct search *s, const struct set *all, struct hit *v,
	size_t n, struct err *err)
{
	struct dating d = { v, n };

	return is_few(all, n) ? date_each(s, v, n, err)
			      : walk_dates(s, all, n, take_date, &d, err);
}

/* ---- relevance ---- */

static enum status rank_shard(struct search *s, unsigned shard, const char *match,
	struct hit *v, size_t n, struct err *err)
{
	sqlite3_stmt *st = NULL;
	char *sql = xasprintf("SELECT rowid, rank FROM fts_%u WHERE fts_%u MATCH ?"
			      " AND rank MATCH '" RANK "'",
		shard, shard);
	enum status rc = ST_OK;
	struct hit *h;
	int is = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);

	free(sql);
	if (is == SQLITE_OK)
		is = sqlite3_bind_text(st, 1, match, -1, SQLITE_STATIC);
	if (is != SQLITE_OK)
		rc = sql_failed(s, is, "search", err);
	while (rc == ST_OK && (rc = sql_step(s, st, err)) == ST_OK) {
		h = find_hit(v, n, sqlite3_column_int64(st, 0));
		if (h)
			h->rank = sqlite3_column_double(st, 1);
	}
	sqlite3_finalize(st);
	return rc == ST_END ? ST_OK : rc;
}

static enum status rank_all(struct search *s, const struct query *q,
	const unsigned *shards, size_t n_shards, struct hit *v, size_t n,
	struct err *err)
{
	char *match = match_of(q->root);
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; match && rc == ST_OK && i < n_shards; i++)
		rc = rank_shard(s, shards[i], match, v, n, err);
	free(match);
	return rc;
}

/* ---- from outside ---- */

static void take_first(void *ctx, uint32_t seq, size_t i)
{
	((uint32_t *)ctx)[i] = seq;
}

enum status hits_order(struct search *s, const struct query *q, const unsigned *shards,
	size_t n_shards, const struct set *all, enum search_order order,
	struct search_hits *hits, struct err *err)
{
	struct hit *v;
	enum status rc = ST_OK;
	size_t i;

	if (order == SEARCH_SEQ || hits->n_first == 0) {
		memcpy(hits->first, hits->seqs, hits->n_first * sizeof(*hits->first));
		return ST_OK;
	}
	if (order == SEARCH_DATE && !is_few(all, hits->n))
		return walk_dates(s, all, hits->n_first, take_first, hits->first, err);
	v = xcalloc(hits->n, sizeof(*v));
	for (i = 0; i < hits->n; i++)
		v[i].seq = hits->seqs[i];
	rc = date_all(s, all, v, hits->n, err);
	if (rc == ST_OK && order == SEARCH_RELEVANCE)
		rc = rank_all(s, q, shards, n_shards, v, hits->n, err);
	qsort(v, hits->n, sizeof(*v), order == SEARCH_RELEVANCE ? by_rank : by_date);
	for (i = 0; i < hits->n_first; i++)
		hits->first[i] = v[i].seq;
	free(v);
	return rc;
}
