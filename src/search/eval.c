/*
 * eval.c: which messages a query is about. Words are asked of FTS5, range by range,
 * each condition of its table; what they have in common is found here. No row of a
 * message is read for that: indexes have all of it.
 */
#include "own.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SQL_MAX = 256 * 1024 };

struct eval {
	struct search *s;
	const unsigned *shards;
	size_t n_shards;
	uint32_t top;
	struct err *err;
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

char *match_of(const struct node *n)
{
	struct buf b = BUF_INIT(SQL_MAX);
	size_t i;

	if (is_text(n))
		add_match(&b, n);
	else if (n->kind == NODE_AND)
		for (i = 0; i < n->n; i++)
			if (is_text(n->of[i])) {
				if (b.n)
					buf_adds(&b, " AND ");
				add_match(&b, n->of[i]);
			}
	return b.n ? buf_take(&b) : NULL;
}

/* ---- what the database says ---- */

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

static enum status collect(struct eval *e, const char *sql, const struct bound *bound,
	size_t n, struct set *out)
{
	sqlite3_stmt *st = NULL;
	enum status rc = ST_OK;
	size_t i;
	int is = sqlite3_prepare_v2(e->s->db, sql, -1, &st, NULL);

	for (i = 0; is == SQLITE_OK && i < n; i++)
		is = bind_one(st, (int)i + 1, &bound[i]);
	if (is != SQLITE_OK)
		rc = sql_failed(e->s, is, "search", e->err);
	e->s->into = out;
	while (rc == ST_OK)
		rc = sql_step(e->s, st, e->err);
	e->s->into = NULL;
	sqlite3_finalize(st);
	if (rc == ST_END && e->s->bad)
		return err_set(e->err, ST_DENIED, EX_DATAERR,
			"the index has messages that are not there");
	return rc == ST_END ? ST_OK : rc;
}

static enum status words(struct eval *e, const char *match, struct set *out)
{
	const struct bound bound = { BOUND_TEXT, 0, (char *)(uintptr_t)match,
		strlen(match) };
	enum status rc = ST_OK;
	char sql[120];
	size_t i;

	for (i = 0; rc == ST_OK && i < e->n_shards; i++) {
		snprintf(sql, sizeof(sql),
			"SELECT collect(rowid) FROM fts_%u WHERE fts_%u MATCH ?",
			e->shards[i], e->shards[i]);
		rc = collect(e, sql, &bound, 1, out);
	}
	return rc;
}

static enum status facts(struct eval *e, const struct node *n, struct set *out)
{
	char *sql = xasprintf("SELECT collect(m.seq) FROM %s", n->sql);
	enum status rc = collect(e, sql, n->bound, n->n_bound, out);

	free(sql);
	return rc;
}

static enum status everything(struct eval *e, struct set *out)
{
	return collect(e, "SELECT collect(seq) FROM message", NULL, 0, out);
}

/* ---- trees; out is empty before ---- */

static enum status eval(struct eval *e, const struct node *n, struct set *out);

/* What n is about is put to out, kept of it, or dropped from it. */
static enum status with(struct eval *e, const struct node *n, struct set *out,
	void (*how)(struct set *, const struct set *))
{
	struct set one;
	enum status rc;

	set_init(&one, e->top);
	rc = eval(e, n, &one);
	if (rc == ST_OK)
		how(out, &one);
	set_release(&one);
	return rc;
}

static enum status all_of(struct eval *e, const struct node *n, struct set *out)
{
	char *match = match_of(n);
	enum status rc = match ? words(e, match, out) : everything(e, out);
	size_t i;

	for (i = 0; rc == ST_OK && i < n->n; i++) {
		const struct node *child = n->of[i];

		if (child->kind == NODE_NOT)
			rc = with(e, child->of[0], out, set_drop);
		else if (!is_text(child))
			rc = with(e, child, out, set_keep);
	}
	free(match);
	return rc;
}

static enum status any_of(struct eval *e, const struct node *n, struct set *out)
{
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < n->n; i++)
		rc = with(e, n->of[i], out, set_join);
	return rc;
}

static enum status eval(struct eval *e, const struct node *n, struct set *out)
{
	enum status rc;
	char *match;

	if (is_text(n)) {
		match = match_of(n);
		rc = words(e, match, out);
		free(match);
		return rc;
	}
	switch (n->kind) {
	case NODE_AND:
		return all_of(e, n, out);
	case NODE_OR:
		return any_of(e, n, out);
	case NODE_NOT:
		rc = everything(e, out);
		return rc == ST_OK ? with(e, n->of[0], out, set_drop) : rc;
	case NODE_FACT:
		return facts(e, n, out);
	case NODE_TEXT:
		break;
	}
	return ST_OK;
}

enum status query_eval(struct search *s, const struct query *q, const unsigned *shards,
	size_t n_shards, struct set *out, struct err *err)
{
	struct eval e = { s, shards, n_shards, out->top, err };

	return eval(&e, q->root, out);
}
