/* find.c: a query as SQL and as an expression of FTS5, range by range. */
#include "own.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The subject counts most, then names of people and files, then the text. */
#define RANK "rank MATCH 'bm25(8.0, 4.0, 2.0, 2.0, 2.0, 1.0, 4.0)' AND "

enum { SQL_MAX = 256 * 1024, VALUES = 4 * QUERY_TERMS };

/* A statement under construction. */
struct text {
	struct buf sql;
	struct bound bound[VALUES]; /* .p is not owned but by made[] */
	size_t n;
	char *made[2 * QUERY_TERMS];
	size_t n_made;
	unsigned shard;
};

struct hit {
	uint32_t seq;
	int64_t date;
	double rank; /* of FTS5: less is better */
};

struct hits {
	struct hit *v;
	size_t n, cap;
};

/* ---- expressions of FTS5 ---- */

/* All in it are words: one expression does. */
static bool is_text(const struct node *n)
{
	size_t i;

	if (n->kind == NODE_TEXT)
		return true;
	if (n->kind != NODE_AND && n->kind != NODE_OR)
		return false;
	for (i = 0; i < n->n; i++)
		if (!is_text(n->of[i]))
			return false;
	return true;
}

static bool is_not_text(const struct node *n)
{
	return n->kind == NODE_NOT && is_text(n->of[0]);
}

static void add_match(struct buf *b, const struct node *n)
{
	size_t i;

	if (n->kind == NODE_TEXT) {
		buf_adds(b, n->match);
		return;
	}
	buf_addc(b, '(');
	for (i = 0; i < n->n; i++) {
		if (i)
			buf_adds(b, n->kind == NODE_AND ? " AND " : " OR ");
		add_match(b, n->of[i]);
	}
	buf_addc(b, ')');
}

/* The words that all must be there, and those that must not; NULL: there are none. */
static char *match_of_and(const struct node *n)
{
	struct buf b = BUF_INIT(SQL_MAX);
	size_t i, found = 0;

	for (i = 0; i < n->n; i++)
		if (is_text(n->of[i])) {
			buf_adds(&b, found++ ? " AND " : "(");
			add_match(&b, n->of[i]);
		}
	if (!found)
		return NULL;
	buf_addc(&b, ')');
	for (i = 0; i < n->n; i++)
		if (is_not_text(n->of[i])) {
			buf_adds(&b, " NOT ");
			add_match(&b, n->of[i]->of[0]);
		}
	return buf_take(&b);
}

static char *match_of(const struct node *n)
{
	struct buf b = BUF_INIT(SQL_MAX);

	if (n->kind == NODE_AND)
		return match_of_and(n);
	if (!is_text(n))
		return NULL;
	add_match(&b, n);
	return buf_take(&b);
}

/* ---- SQL ---- */

static void text_init(struct text *t, unsigned shard)
{
	memset(t, 0, sizeof(*t));
	buf_init(&t->sql, SQL_MAX);
	t->shard = shard;
}

static void text_free(struct text *t)
{
	while (t->n_made)
		free(t->made[--t->n_made]);
	buf_free(&t->sql);
}

static void bind_match(struct text *t, char *match)
{
	t->made[t->n_made++] = match;
	t->bound[t->n++] = (struct bound){ BOUND_TEXT, 0, match, strlen(match) };
}

static void in_words(struct text *t, char *match)
{
	buf_addf(&t->sql, "m.seq IN (SELECT rowid FROM fts_%u WHERE fts_%u MATCH ?)",
		t->shard, t->shard);
	bind_match(t, match);
}

static void condition(struct text *t, const struct node *n);

static void all_of(struct text *t, const struct node *n, bool with_words)
{
	char *match = match_of_and(n);
	size_t i, added = 0;

	if (match && with_words) {
		in_words(t, match);
		added++;
	}
	for (i = 0; i < n->n; i++) {
		if (match && (is_text(n->of[i]) || is_not_text(n->of[i])))
			continue;
		if (added++)
			buf_adds(&t->sql, " AND ");
		condition(t, n->of[i]);
	}
	if (!added)
		buf_adds(&t->sql, "1");
	if (match && !with_words)
		free(match);
}

static void any_of(struct text *t, const struct node *n)
{
	size_t i;

	for (i = 0; i < n->n; i++) {
		if (i)
			buf_adds(&t->sql, " OR ");
		condition(t, n->of[i]);
	}
}

static void condition(struct text *t, const struct node *n)
{
	size_t i;

	if (is_text(n)) {
		in_words(t, match_of(n));
		return;
	}
	buf_adds(&t->sql, n->kind == NODE_NOT ? "NOT (" : "(");
	switch (n->kind) {
	case NODE_AND:
		all_of(t, n, true);
		break;
	case NODE_OR:
		any_of(t, n);
		break;
	case NODE_NOT:
		condition(t, n->of[0]);
		break;
	case NODE_FACT:
		/* NULL is not "no" to a NOT around it. */
		buf_addf(&t->sql, "ifnull(%s, 0)", n->sql);
		for (i = 0; i < n->n_bound; i++)
			t->bound[t->n++] = n->bound[i];
		break;
	case NODE_TEXT:
		break;
	}
	buf_addc(&t->sql, ')');
}

/* Columns: number, date, rank. */
static void select_hits(struct text *t, const struct node *n, enum search_order order)
{
	uint64_t first = (uint64_t)t->shard * SHARD;
	char *match = order == SEARCH_RELEVANCE || is_text(n) ? match_of(n) : NULL;

	if (match && order == SEARCH_SEQ) {
		buf_addf(&t->sql, "SELECT rowid, 0, 0 FROM fts_%u WHERE fts_%u MATCH ?",
			t->shard, t->shard);
		bind_match(t, match);
		return;
	}
	if (match) {
		buf_addf(&t->sql,
			"SELECT m.seq, m.date, rank FROM fts_%u"
			" CROSS JOIN message AS m ON m.seq = fts_%u.rowid"
			" WHERE fts_%u MATCH ? AND %s(",
			t->shard, t->shard, t->shard,
			order == SEARCH_RELEVANCE ? RANK : "");
		bind_match(t, match);
		if (n->kind == NODE_AND)
			all_of(t, n, false);
		else
			buf_adds(&t->sql, "1");
		buf_addc(&t->sql, ')');
		return;
	}
	buf_adds(&t->sql, "SELECT m.seq, m.date, 0 FROM message AS m WHERE ");
	condition(t, n);
	buf_addf(&t->sql, " AND m.seq BETWEEN %" PRIu64 " AND %" PRIu64, first,
		first + SHARD - 1);
}

static int bind_one(sqlite3_stmt *st, int i, const struct bound *b)
{
	switch (b->type) {
	case BOUND_INT:
		return sqlite3_bind_int64(st, i, b->i);
	case BOUND_BLOB:
		return sqlite3_bind_blob64(st, i, b->p, b->n, SQLITE_STATIC);
	default:
		return sqlite3_bind_text64(
			st, i, b->p, b->n, SQLITE_STATIC, SQLITE_UTF8);
	}
}

static void add_hit(struct hits *h, sqlite3_stmt *st)
{
	if (h->n == h->cap) {
		h->cap = h->cap + h->cap / 2 + 256;
		h->v = xreallocarray(h->v, h->cap, sizeof(*h->v));
	}
	h->v[h->n++] = (struct hit){ (uint32_t)sqlite3_column_int64(st, 0),
		sqlite3_column_int64(st, 1), sqlite3_column_double(st, 2) };
}

static enum status find_in(struct search *s, unsigned shard, const struct query *q,
	enum search_order order, struct hits *h, struct err *err)
{
	sqlite3_stmt *st = NULL;
	struct text t;
	enum status rc = ST_OK;
	size_t i;
	int is;

	text_init(&t, shard);
	select_hits(&t, q->root, order);
	is = sqlite3_prepare_v2(s->db, buf_str(&t.sql), (int)t.sql.n + 1, &st, NULL);
	for (i = 0; is == SQLITE_OK && i < t.n; i++)
		is = bind_one(st, (int)i + 1, &t.bound[i]);
	if (is != SQLITE_OK)
		rc = sql_failed(s, is, "search", err);
	while (rc == ST_OK && (rc = sql_step(s, st, err)) == ST_OK)
		add_hit(h, st);
	sqlite3_finalize(st);
	text_free(&t);
	return rc == ST_END ? ST_OK : rc;
}

/* ---- order ---- */

static int by_seq(const void *a, const void *b)
{
	const struct hit *x = a, *y = b;

	return (x->seq > y->seq) - (x->seq < y->seq);
}

static int by_date(const void *a, const void *b)
{
	const struct hit *x = a, *y = b;

	if (x->date != y->date)
		return x->date < y->date ? 1 : -1;
	return by_seq(b, a);
}

static int by_rank(const void *a, const void *b)
{
	const struct hit *x = a, *y = b;

	if (x->rank != y->rank)
		return x->rank > y->rank ? 1 : -1;
	return by_date(a, b);
}

static enum status find_all(struct search *s, const struct query *q,
	enum search_order order, struct hits *h, struct err *err)
{
	static int (*const orders[])(
		const void *, const void *) = { [SEARCH_SEQ] = by_seq,
		[SEARCH_DATE] = by_date,
		[SEARCH_RELEVANCE] = by_rank };
	unsigned *shards = NULL;
	size_t n = 0, i;
	sqlite3_stmt *st = sql_get(s, SQL_SHARDS, err);
	enum status rc = st ? ST_OK : err->status;

	while (rc == ST_OK && (rc = sql_step(s, st, err)) == ST_OK) {
		shards = xreallocarray(shards, n + 1, sizeof(*shards));
		shards[n++] = (unsigned)sqlite3_column_int64(st, 0) % SHARDS;
	}
	rc = rc == ST_END ? ST_OK : rc;
	for (i = 0; rc == ST_OK && i < n; i++)
		rc = find_in(s, shards[i], q, order, h, err);
	free(shards);
	if (rc == ST_OK && h->n)
		qsort(h->v, h->n, sizeof(*h->v), orders[order]);
	return rc;
}

/* ---- the index, from outside ---- */

/* What turns out to be damaged is made anew, once. */
static enum status again(struct search *s, struct err *err)
{
	enum status rc = index_remake(s, "it is damaged", err);

	return rc == ST_OK ? update(s, err) : rc;
}

enum status search_open(struct search **out, const char *path,
	const struct search_how *how, struct err *err)
{
	struct search *s = xcalloc(1, sizeof(*s));
	struct archive_access access = { 0 };
	enum status rc;

	s->lock = -1;
	if (how)
		s->how = *how;
	fingerprint(s->fingerprint, path);
	access.identities = s->how.identities;
	rc = archive_read_as(&s->r, path, &access, err);
	if (rc == ST_OK) {
		char *real = realpath(path, NULL);

		s->path = xstrdup(real ? real : path);
		free(real);
		if (archive_crypt(s->r) != CRYPT_NONE && !s->how.plaintext)
			s->how.in_memory = true;
		rc = index_open(s, err);
	}
	if (rc == ST_OK)
		rc = update(s, err);
	if (rc != ST_OK && s->bad)
		rc = again(s, err);
	if (rc != ST_OK)
		search_close(&s);
	*out = s;
	return rc;
}

void search_close(struct search **sp)
{
	struct search *s = *sp;

	if (!s)
		return;
	index_close(s);
	archive_done(&s->r);
	free(s->path);
	free(s);
	*sp = NULL;
}

static enum status count(
	struct search *s, enum sql which, uint64_t *out, struct err *err)
{
	sqlite3_stmt *st = sql_get(s, which, err);
	enum status rc = st ? sql_step(s, st, err) : err->status;

	if (rc != ST_OK)
		return rc;
	*out = (uint64_t)sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	return ST_OK;
}

enum status search_count(
	struct search *s, uint64_t *in, uint64_t * not, struct err *err)
{
	enum status rc = in ? count(s, SQL_COUNT, in, err) : ST_OK;

	return rc == ST_OK ? count(s, SQL_DAMAGED_COUNT, not, err) : rc;
}

enum status search_find(struct search *s, const struct query *q,
	enum search_order order, uint32_t **seqs, size_t *n, struct err *err)
{
	struct err why = ERR_INIT;
	struct hits h = { 0 };
	size_t i;
	enum status rc = find_all(s, q, order, &h, &why);

	*seqs = NULL;
	*n = 0;
	if (rc != ST_OK && s->bad) {
		h.n = 0;
		rc = again(s, &why);
		if (rc == ST_OK)
			rc = find_all(s, q, order, &h, &why);
	}
	if (rc == ST_OK) {
		*seqs = xmalloc((h.n + 1) * sizeof(**seqs));
		*n = h.n;
		for (i = 0; i < h.n; i++)
			(*seqs)[i] = h.v[i].seq;
	}
	free(h.v);
	return rc == ST_OK ? rc : err_set(err, rc, why.exit, "%s", why.text);
}

static const char *column(sqlite3_stmt *st, int i)
{
	const char *s = (const char *)sqlite3_column_text(st, i);

	return s ? s : "";
}

enum status search_get(
	struct search *s, uint64_t seq, struct search_found *out, struct err *err)
{
	sqlite3_stmt *st = sql_get(s, SQL_GET, err);
	const unsigned char *sha;
	enum status rc;

	if (!st)
		return err->status;
	sqlite3_reset(st);
	sqlite3_bind_int64(st, 1, (int64_t)seq);
	rc = sql_step(s, st, err);
	if (rc != ST_OK)
		return rc;
	memset(out, 0, sizeof(*out));
	sha = sqlite3_column_blob(st, 3);
	if (sha && sqlite3_column_bytes(st, 3) == DIGEST)
		text_hex(out->sha256, sha, DIGEST);
	out->seq = seq;
	out->size = (uint64_t)sqlite3_column_int64(st, 0);
	out->date = (struct when){ true, sqlite3_column_int64(st, 1),
		sqlite3_column_int(st, 2) };
	out->folder = column(st, 4);
	out->uidl = column(st, 5);
	out->from = column(st, 6);
	out->to = column(st, 7);
	out->cc = column(st, 8);
	out->subject = column(st, 9);
	out->message_id = column(st, 10);
	out->attachments = (unsigned)sqlite3_column_int(st, 11);
	return ST_OK;
}
