/* find.c: the index, from outside: opened, asked, closed. */
#include "own.h"

#include <stdlib.h>
#include <string.h>

/* What turns out to be damaged is made anew, once. */
static enum status again(struct search *s, struct err *err)
{
	enum status rc = index_remake(s, "it is damaged", err);

	return rc == ST_OK ? update(s, err) : rc;
}

/* Nothing of it may come to a disk in clear. */
static void encrypted(struct search *s)
{
	if (!s->how.in_memory && s->how.identities)
		kept_begin(s);
	s->how.in_memory = true;
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
	s->disposals = count_disposals(path);
	access.identities = s->how.identities;
	rc = archive_read_as(&s->r, path, &access, err);
	if (rc == ST_OK) {
		char *real = realpath(path, NULL);

		s->path = xstrdup(real ? real : path);
		free(real);
		if (archive_crypt(s->r) != CRYPT_NONE && !s->how.plaintext)
			encrypted(s);
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
	struct search *s, uint64_t *in, uint64_t *unread, struct err *err)
{
	enum status rc = in ? count(s, SQL_COUNT, in, err) : ST_OK;

	return rc == ST_OK ? count(s, SQL_DAMAGED_COUNT, unread, err) : rc;
}

enum status search_whole(struct search *s, struct err *err)
{
	sqlite3_stmt *st = sql_get(s, SQL_META, err);
	const char *why;
	enum status rc;

	if (!st)
		return err->status;
	sqlite3_bind_text(st, 1, "unlisted", -1, SQLITE_STATIC);
	rc = sql_step(s, st, err);
	if (rc != ST_OK)
		return rc == ST_END ? ST_OK : rc;
	why = (const char *)sqlite3_column_text(st, 0);
	if (why && *why)
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"messages that nobody can list were not searched: %s", why);
	sqlite3_reset(st);
	return rc;
}

/* ---- finding ---- */

void search_hits_free(struct search_hits *h)
{
	free(h->seqs);
	free(h->first);
	memset(h, 0, sizeof(*h));
}

static enum status list_shards(
	struct search *s, unsigned **shards, size_t *n, struct err *err)
{
	sqlite3_stmt *st = sql_get(s, SQL_SHARDS, err);
	enum status rc = st ? ST_OK : err->status;

	while (rc == ST_OK && (rc = sql_step(s, st, err)) == ST_OK) {
		*shards = xreallocarray(*shards, *n + 1, sizeof(**shards));
		(*shards)[(*n)++] = (unsigned)sqlite3_column_int64(st, 0) % SHARDS;
	}
	return rc == ST_END ? ST_OK : rc;
}

/* The highest number. */
static enum status find_top(struct search *s, uint32_t *top, struct err *err)
{
	uint64_t n;
	enum status rc = count(s, SQL_TOP, &n, err);

	if (rc == ST_OK && n >= (uint64_t)SHARDS * SHARD) {
		s->bad = true;
		rc = err_set(err, ST_DENIED, EX_DATAERR, "the index makes no sense");
	}
	*top = rc == ST_OK ? (uint32_t)n : 0;
	return rc;
}

enum status search_hold(struct search *s, struct err *err)
{
	return sql_run(s, "BEGIN", err);
}

void search_let_go(struct search *s)
{
	size_t i;

	/* A row that was read last still holds it. */
	for (i = 0; i < SQLS; i++)
		sqlite3_reset(s->stmt[i]);
	if (!sqlite3_get_autocommit(s->db))
		sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
}

/* In one view of the index: another process may be adding to it. */
static enum status find(struct search *s, const struct query *q,
	enum search_order order, uint64_t limit, struct search_hits *out,
	struct err *err)
{
	struct set all = { 0, NULL };
	unsigned *shards = NULL;
	size_t n = 0;
	uint32_t top = 0;
	enum status rc = search_hold(s, err);

	if (rc == ST_OK)
		rc = find_top(s, &top, err);
	if (rc == ST_OK)
		rc = list_shards(s, &shards, &n, err);
	if (rc == ST_OK) {
		set_init(&all, top);
		rc = query_eval(s, q, shards, n, &all, err);
	}
	if (rc == ST_OK) {
		out->seqs = set_list(&all, &out->n);
		out->n_first = limit < out->n ? (size_t)limit : out->n;
		out->first = xmalloc((out->n_first + 1) * sizeof(*out->first));
		rc = hits_order(s, q, shards, n, &all, order, out, err);
	}
	search_let_go(s);
	set_release(&all);
	free(shards);
	return rc;
}

enum status search_find(struct search *s, const struct query *q,
	enum search_order order, uint64_t limit, struct search_hits *out,
	struct err *err)
{
	struct err why = ERR_INIT;
	enum status rc;

	memset(out, 0, sizeof(*out));
	rc = find(s, q, order, limit, out, &why);
	if (rc != ST_OK && s->bad) {
		search_hits_free(out);
		why = (struct err)ERR_INIT;
		rc = again(s, &why);
		if (rc == ST_OK)
			rc = find(s, q, order, limit, out, &why);
	}
	if (rc == ST_OK)
		return ST_OK;
	search_hits_free(out);
	return err_set(err, rc, why.exit, "%s", why.text);
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
	if (!*out->folder)
		out->folder = "INBOX"; /* it has no name inside */
	out->uidl = column(st, 5);
	out->from = column(st, 6);
	out->to = column(st, 7);
	out->cc = column(st, 8);
	out->subject = column(st, 9);
	out->message_id = column(st, 10);
	out->attachments = (unsigned)sqlite3_column_int(st, 11);
	return ST_OK;
}
