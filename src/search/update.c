/* update.c: what is new in the archive goes into the index, what has gone goes. */
#include "own.h"

#include <popferry/clock.h>
#include <popferry/fault.h>
#include <popferry/fs.h>
#include <popferry/text.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	BATCH = 2000,                   /* messages in a transaction, */
	BATCH_BYTES = 64 * 1024 * 1024, /* or so many bytes of them */
	LOOK = 64,                      /* messages between two looks at go_on() */
	WAIT_MS = 600 * 1000,
	PAUSE_MS = 100,
	WORDS_MAX = 4 * SEARCH_BODY_MAX,
};

/* ---- is there anything to do? ---- */

static enum status is_current(struct search *s, bool *yes, struct err *err)
{
	sqlite3_stmt *st = sql_get(s, SQL_META, err);
	const char *was;
	enum status rc;

	*yes = false;
	/* Sizes and times could be made to look as they were by who has put back an
	 * older index: the list of messages is compared. */
	if (*s->kept)
		return ST_OK;
	if (!st)
		return err->status;
	sqlite3_bind_text(st, 1, "fingerprint", -1, SQLITE_STATIC);
	rc = sql_step(s, st, err);
	if (rc == ST_OK) {
		was = (const char *)sqlite3_column_text(st, 0);
		*yes = was && strcmp(was, s->fingerprint) == 0;
		sqlite3_reset(st);
	}
	return rc < 0 ? rc : ST_OK;
}

/* ---- one message ---- */

static void bind_buf(sqlite3_stmt *st, int i, const struct buf *b)
{
	sqlite3_bind_text(st, i, buf_str(b), (int)b->n, SQLITE_STATIC);
}

static enum status put_row(struct search *s, const struct wanted *w,
	const struct archive_filed *filed, const struct search_text *t, struct err *err)
{
	const struct archive_entry *e = &filed->entry;
	sqlite3_stmt *st = sql_get(s, SQL_MESSAGE, err),
		     *folder = sql_get(s, SQL_FOLDER, err);
	struct buf id = BUF_INIT(SEARCH_FIELD_MAX);
	enum status rc;

	if (!st || !folder)
		return err->status;
	sqlite3_bind_text(folder, 1, e->folder, -1, SQLITE_STATIC);
	rc = sql_step(s, folder, err);
	if (rc < 0)
		return rc;
	msgid_normal(buf_str(&t->message_id), t->message_id.n, &id);
	sqlite3_bind_int64(st, 1, w->seq);
	sqlite3_bind_int64(st, 2, (int64_t)w->size);
	sqlite3_bind_int64(st, 3, e->date.known ? e->date.utc : e->retrieved);
	sqlite3_bind_int(st, 4, e->date.known ? e->date.zone : 0);
	sqlite3_bind_blob(st, 5, w->sha, DIGEST, SQLITE_STATIC);
	if (id.n)
		bind_buf(st, 6, &id);
	sqlite3_bind_text(st, 7, e->folder, -1, SQLITE_STATIC);
	if (e->uidl)
		sqlite3_bind_text(st, 8, e->uidl, (int)e->uidl_n, SQLITE_STATIC);
	bind_buf(st, 9, &t->from);
	bind_buf(st, 10, &t->to);
	bind_buf(st, 11, &t->cc);
	bind_buf(st, 12, &t->subject);
	sqlite3_bind_int64(st, 13, t->attachments);
	rc = sql_step(s, st, err);
	buf_free(&id);
	return rc == ST_END ? ST_OK : rc;
}

static enum status put_files(struct search *s, const struct wanted *w,
	const struct search_text *t, struct err *err)
{
	const char *p = buf_str(&t->files), *end = p + t->files.n, *lf;
	sqlite3_stmt *st = sql_get(s, SQL_FILE, err);
	enum status rc = ST_OK;
	int i;

	if (!st)
		return err->status;
	for (i = 0; rc == ST_OK && p < end; i++, p = lf + 1) {
		lf = memchr(p, '\n', (size_t)(end - p));
		sqlite3_bind_int64(st, 1, w->seq);
		sqlite3_bind_int(st, 2, i);
		sqlite3_bind_text(st, 3, p, (int)(lf - p), SQLITE_STATIC);
		rc = sql_step(s, st, err);
		rc = rc == ST_END ? ST_OK : rc;
	}
	return rc;
}

static enum status put_words(struct search *s, const struct wanted *w,
	const struct search_text *t, struct err *err)
{
	const struct buf *texts[] = { &t->subject, &t->from, &t->to, &t->cc, &t->bcc,
		&t->body, &t->files };
	struct buf words[N_ELEMENTS(texts)];
	enum status rc = index_shard(s, w->seq / SHARD, err);
	size_t i;

	if (rc != ST_OK)
		return rc;
	sqlite3_bind_int64(s->put, 1, w->seq);
	for (i = 0; i < N_ELEMENTS(texts); i++) {
		buf_init(&words[i], WORDS_MAX);
		words_add(&words[i], buf_str(texts[i]), texts[i]->n);
		bind_buf(s->put, (int)i + 2, &words[i]);
	}
	rc = sql_step(s, s->put, err);
	for (i = 0; i < N_ELEMENTS(texts); i++)
		buf_free(&words[i]);
	return rc == ST_END ? ST_OK : rc;
}

static enum status put_damaged(struct search *s, uint32_t seq, struct err *err)
{
	sqlite3_stmt *st = sql_get(s, SQL_DAMAGED, err);
	enum status rc;

	if (!st)
		return err->status;
	sqlite3_bind_int64(st, 1, seq);
	rc = sql_step(s, st, err);
	return rc == ST_END ? ST_OK : rc;
}

static enum status take_one(struct search *s, struct archive_stream *a,
	const struct wanted *w, struct err *err)
{
	struct archive_filed filed;
	struct err why = ERR_INIT;
	struct search_text t;
	struct extract *x;
	enum status rc;

	search_text_init(&t);
	extract_begin(&x, &t);
	rc = archive_stream_get(a, w->seq, extract_put, x, &filed, &why);
	extract_end(&x);
	if (rc == ST_OK) {
		rc = put_row(s, w, &filed, &t, err);
		if (rc == ST_OK)
			rc = put_files(s, w, &t, err);
		if (rc == ST_OK)
			rc = put_words(s, w, &t, err);
		s->changed = true;
	} else if (rc == ST_END || (rc == ST_DENIED && why.exit == EX_DATAERR)) {
		rc = put_damaged(s, w->seq, err);
	} else {
		err_set(err, rc, why.exit, "%s", why.text);
	}
	search_text_release(&t);
	return rc;
}

/* ---- all of them ---- */

static enum status commit(struct search *s, struct err *err)
{
	enum status rc;

	fault_step("index-batch");
	rc = sql_run(s, "COMMIT", err);
	fault_step("index-committed");
	return rc;
}

static enum status begin(struct search *s, struct err *err)
{
	return sql_run(s, "BEGIN IMMEDIATE", err);
}

static enum status take_all(
	struct compared *c, struct archive_stream *a, struct err *err)
{
	struct search *s = c->s;
	uint64_t bytes = 0;
	size_t i, taken = 0;
	enum status rc = begin(s, err);

	for (i = 0; rc == ST_OK && i < c->n_lost; i++)
		rc = put_damaged(s, c->lost[i], err);
	for (i = 0; rc == ST_OK && i < c->n; i++) {
		if (i % LOOK == 0 && s->how.go_on &&
			!s->how.go_on(s->how.ctx, i, c->n)) {
			rc = commit(s, err);
			return rc == ST_OK
				? err_set(err, ST_RETRY, EX_TEMPFAIL,
					  "stopped while the index was made; the next search goes on with it")
				: rc;
		}
		rc = take_one(s, a, &c->todo[i], err);
		bytes += c->todo[i].size;
		if (rc == ST_OK && (++taken == BATCH || bytes > BATCH_BYTES)) {
			rc = commit(s, err);
			if (rc == ST_OK)
				rc = begin(s, err);
			taken = 0;
			bytes = 0;
		}
	}
	return rc;
}

static enum status note(
	struct search *s, const char *key, const char *value, struct err *err)
{
	sqlite3_stmt *st = sql_get(s, SQL_META_SET, err);
	enum status rc;

	if (!st)
		return err->status;
	sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, value, -1, SQLITE_STATIC);
	rc = sql_step(s, st, err);
	return rc == ST_END ? ST_OK : rc;
}

/* What has gone must not be found by its words, nor in the file. */
static enum status drop_gone(struct compared *c, struct err *err)
{
	unsigned shard, n = 0;
	enum status rc = begin(c->s, err);
	char text[120];

	for (shard = 0; rc == ST_OK && shard < SHARDS; shard++)
		if (c->gone[shard]) {
			rc = index_drop(c->s, shard, err);
			n++;
		}
	if (rc == ST_OK)
		rc = sql_run(c->s,
			"DELETE FROM folder WHERE id NOT IN (SELECT folder FROM message)",
			err);
	if (rc == ST_OK)
		rc = commit(c->s, err);
	if (rc == ST_OK)
		rc = sql_run(c->s, "VACUUM", err);
	if (rc != ST_OK)
		return rc;
	snprintf(text, sizeof(text),
		"messages have changed or gone: %u part%s of the index %s made anew", n,
		text_s(n), n == 1 ? "is" : "are");
	search_say(c->s, text);
	return ST_OK;
}

static enum status bring(struct search *s, struct err *err)
{
	struct compared *c = xcalloc(1, sizeof(*c));
	struct archive_stream *a = NULL;
	enum status rc;

	c->s = s;
	archive_stream_open(&a, s->r);
	rc = sql_run(s, "DELETE FROM damaged", err);
	if (rc == ST_OK)
		rc = compare(c, a, err);
	if (rc == ST_OK && c->any_gone) {
		s->changed = true;
		rc = drop_gone(c, err);
		archive_stream_close(&a);
		archive_stream_open(&a, s->r);
		if (rc == ST_OK)
			rc = compare(c, a, err);
	}
	if (rc == ST_OK)
		rc = take_all(c, a, err);
	if (rc == ST_OK)
		rc = note(s, "unlisted", c->unlisted, err);
	if (rc == ST_OK)
		rc = note(s, "fingerprint", s->fingerprint, err);
	if (rc == ST_OK)
		rc = commit(s, err);
	if (rc != ST_OK && s->db && !sqlite3_get_autocommit(s->db))
		sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	compared_clear(c);
	free(c);
	archive_stream_close(&a);
	return rc;
}

/* One that cannot be written is good enough if there is nothing to add. */
static enum status look_only(struct search *s, bool *good, struct err *err)
{
	struct compared *c = xcalloc(1, sizeof(*c));
	struct archive_stream *a = NULL;
	enum status rc;

	c->s = s;
	archive_stream_open(&a, s->r);
	rc = compare(c, a, err);
	*good = rc == ST_OK && c->n == 0 && !c->any_gone;
	compared_clear(c);
	free(c);
	archive_stream_close(&a);
	return s->bad ? ST_OK : rc;
}

/* ---- one at a time ---- */

static enum status lock(struct search *s, struct err *err)
{
	char *dir = xasprintf("%s/index", s->path);
	int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	int64_t until = clock_ms() + WAIT_MS;
	struct err why = ERR_INIT;
	bool told = false;
	enum status rc;

	free(dir);
	if (dirfd < 0)
		return err_sys(err, ST_FATAL, "%s/index", s->path);
	while ((rc = fs_lock(&s->lock, dirfd, "lock", &why)) == ST_DENIED) {
		if (clock_ms() > until)
			break;
		if (!told)
			search_say(s,
				"another process brings the index up to date: waiting");
		told = true;
		if (s->how.go_on && !s->how.go_on(s->how.ctx, 0, 0)) {
			rc = err_set(&why, ST_RETRY, EX_TEMPFAIL, "stopped");
			break;
		}
		clock_sleep(PAUSE_MS);
	}
	close(dirfd);
	return rc < 0 ? err_set(err, rc, why.exit, "%s", why.text) : ST_OK;
}

static void unlock(struct search *s)
{
	if (s->lock >= 0)
		close(s->lock);
	s->lock = -1;
}

static enum status update_own(struct search *s, struct err *err)
{
	bool current = false;
	enum status rc = s->temporary ? ST_OK : lock(s, err);

	/* Somebody else may have done it meanwhile. */
	if (rc == ST_OK)
		rc = is_current(s, &current, err);
	if (rc == ST_OK && !current)
		rc = bring(s, err);
	if (rc == ST_OK || rc == ST_RETRY)
		kept_save(s);
	unlock(s);
	return rc;
}

enum status update(struct search *s, struct err *err)
{
	bool current = false;
	enum status rc = is_current(s, &current, err);

	if (rc != ST_OK || current)
		return rc;
	if (!s->read_only)
		return update_own(s, err);
	rc = look_only(s, &current, err);
	if (rc != ST_OK || current)
		return rc;
	search_say(s,
		"the index is not up to date and cannot be written: one is made for this search alone");
	s->temporary = true;
	s->remade = s->bad = false;
	rc = index_remake(s, NULL, err);
	return rc == ST_OK ? update_own(s, err) : rc;
}
