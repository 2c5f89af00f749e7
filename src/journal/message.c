/* message.c: the messages of the source, by key and by content. */
#include "own.h"

#include <popferry/clock.h>

#include <string.h>

/* ---- reading ---- */

enum {
	C_ID,
	C_STATE,
	C_OF,
	C_LISTED,
	C_SIZE,
	C_DATE,
	C_TRIES,
	C_SHA256,
	C_KEPT = 12,
	C_ASKED,
	C_REMOVED,
	C_MASK
};

static bool digest(struct journal *j, enum query q, int i, unsigned char out[DIGEST])
{
	size_t n;
	const void *p = col_blob(j, q, i, &n);

	if (n != DIGEST)
		return false;
	memcpy(out, p, DIGEST);
	return true;
}

/* The row a query stands on. A damaged file may hold anything in it. */
static enum status row_read(
	struct journal *j, enum query q, struct journal_row *r, struct err *err)
{
	int64_t mask = col_int(j, q, C_MASK);
	unsigned char *const digests[] = { r->sha256, r->exact, r->body, r->ident };
	bool whole = true;
	int i;

	memset(r, 0, sizeof(*r));
	r->id = col_int(j, q, C_ID);
	r->state = (enum journal_state)col_int(j, q, C_STATE);
	r->of = r->state == J_DUPLICATE ? col_int(j, q, C_OF) : 0;
	r->listed_size = (uint64_t)col_int_or(j, q, C_LISTED, -1);
	r->size = (uint64_t)col_int_or(j, q, C_SIZE, -1);
	r->has_content = r->size != UINT64_MAX;
	r->date = col_int(j, q, C_DATE);
	r->tries = (unsigned)col_int(j, q, C_TRIES);
	for (i = 0; r->has_content && i < 4; i++)
		whole = digest(j, q, C_SHA256 + i, digests[i]) && whole;
	r->has_msgid = digest(j, q, C_SHA256 + 4, r->msgid);
	r->stored = (unsigned)mask & 0xff;
	r->storing = (unsigned)(mask >> 8) & 0xff;
	r->verified = (unsigned)(mask >> 16) & 0xff;
	r->kept = (unsigned)col_int(j, q, C_KEPT);
	r->asked = col_int(j, q, C_ASKED);
	r->removed = col_int(j, q, C_REMOVED);
	if (whole && r->state >= J_TAKEN && r->state <= J_FAILED)
		return ST_OK;
	return journal_damaged(j, err, r->id);
}

static enum status read_one(struct journal *j, enum query q, const struct value *v,
	size_t n, struct journal_row *out, struct err *err)
{
	enum status rc = query_row(j, q, v, n, err);

	if (rc != ST_OK)
		return rc;
	rc = row_read(j, q, out, err);
	query_done(j, q);
	return rc;
}

/* There is none such. */
static enum status missed(struct journal *j, struct err *err)
{
	enum status rc = hint_missed(j, err);

	return rc == ST_OK ? ST_END : rc;
}

enum status journal_find(struct journal *j, const char *uidl, size_t n,
	uint32_t occurrence, struct journal_row *out, struct err *err)
{
	enum status rc;

	if (hint_absent(j, hint_uidl(uidl, n, occurrence)))
		return ST_END;
	rc = read_one(j, Q_FIND, WITH(BLOB(uidl, n), INT(occurrence)), out, err);
	return rc == ST_END ? missed(j, err) : rc;
}

enum status journal_find_content(struct journal *j, const unsigned char sha256[DIGEST],
	int64_t after, struct journal_row *out, struct err *err)
{
	enum status rc;

	if (hint_absent(j, hint_digest(HINT_SHA256, sha256)))
		return ST_END;
	rc = read_one(j, Q_FIND_CONTENT,
		WITH(BLOB(sha256, DIGEST), INT((uint64_t)after)), out, err);
	return rc == ST_END ? missed(j, err) : rc;
}

enum status journal_get(
	struct journal *j, int64_t id, struct journal_row *out, struct err *err)
{
	return read_one(j, Q_GET, WITH(INT(id)), out, err);
}

enum status journal_count(struct journal *j, uint64_t *n, struct err *err)
{
	enum status rc;

	*n = (uint64_t)j->last;
	if (j->last >= 0)
		return ST_OK;
	rc = query_row(j, Q_COUNT, NULL, 0, err);
	if (rc != ST_OK)
		return rc;
	*n = (uint64_t)col_int(j, Q_COUNT, 0);
	query_done(j, Q_COUNT);
	return ST_OK;
}

enum status journal_uidl(
	struct journal *j, int64_t id, char **uidl, size_t *n, struct err *err)
{
	enum status rc = query_row(j, Q_UIDL, WITH(INT((uint64_t)id)), err);
	const void *p;

	if (rc != ST_OK)
		return rc;
	p = col_blob(j, Q_UIDL, 0, n);
	*uidl = p ? xmemdup0(p, *n) : NULL;
	query_done(j, Q_UIDL);
	return ST_OK;
}

enum status journal_candidates(struct journal *j, unsigned sinks,
	const unsigned char *msgid, const unsigned char *exact,
	enum status (*each)(void *ctx, const struct journal_row *row, struct err *err),
	void *ctx, struct err *err)
{
	enum query q = !exact ? Q_BY_MSGID : msgid ? Q_BY_EXACT : Q_BY_EXACT_BARE;
	const unsigned char *key = exact ? exact : msgid;
	struct journal_row row;
	enum status rc;

	if (hint_absent(j, hint_digest(exact ? HINT_EXACT : HINT_MSGID, key)))
		return ST_OK;
	rc = query_row(j, q,
		(struct value[]){ BLOB(key, DIGEST), INT(sinks), BLOB(msgid, DIGEST) },
		q == Q_BY_EXACT ? 3 : 2, err);
	if (rc == ST_END)
		return hint_missed(j, err);
	while (rc == ST_OK) {
		rc = row_read(j, q, &row, err);
		if (rc == ST_OK)
			rc = each(ctx, &row, err);
		if (rc != ST_OK) {
			query_done(j, q);
			break;
		}
		rc = query_next(j, q, err);
	}
	return rc == ST_END ? ST_OK : rc;
}

enum status journal_rival(struct journal *j, const struct facts *ours,
	const struct facts *theirs, struct err *err)
{
	enum status rc = query_row(j, Q_RIVAL,
		WITH(BLOB(ours->exact, DIGEST), BLOB(theirs->exact, DIGEST),
			BLOB(ours->has_msgid ? ours->msgid : NULL, DIGEST),
			BLOB(ours->ident, DIGEST),
			BLOB(theirs->has_msgid ? theirs->msgid : NULL, DIGEST)),
		err);

	if (rc == ST_OK)
		query_done(j, Q_RIVAL);
	return rc;
}

/* ---- the row of a key ---- */

/* Servers change headers of their own between two fetches: `exact` leaves them out. */
static bool same_content(const struct journal_row *r, const struct facts *f)
{
	return memcmp(r->sha256, f->sha256, DIGEST) == 0 ||
		memcmp(r->exact, f->exact, DIGEST) == 0;
}

/* The row for this key and content, which f may not know. ST_END: one has to be made.
 */
static enum status row_for(struct journal *j, const struct journal_key *k,
	const struct facts *f, struct journal_row *row, struct err *err)
{
	enum status rc;

	if (!k->uidl)
		return k->row ? journal_get(j, k->row, row, err) : ST_END;
	rc = journal_find(j, k->uidl, k->uidl_n, k->occurrence, row, err);
	if (rc != ST_OK || !f || !row->has_content || same_content(row, f))
		return rc;
	rc = query_change(j, Q_ASIDE, WITH(INT(row->id)), NULL, err);
	j->asides++;
	return rc == ST_OK ? ST_END : rc;
}

static enum status make(struct journal *j, const struct journal_key *k,
	const struct facts *f, int64_t date, enum journal_state state, int64_t *id,
	struct err *err)
{
	enum status rc;

	rc = query_change(j, Q_MAKE,
		WITH(BLOB(k->uidl, k->uidl_n), INT(k->uidl ? k->occurrence : 0),
			INT(state), SIZE(k->listed_size),
			SIZE(f ? f->size : UINT64_MAX), INT(date),
			BLOB(f ? f->sha256 : NULL, DIGEST),
			BLOB(f ? f->exact : NULL, DIGEST),
			BLOB(f ? f->body : NULL, DIGEST),
			BLOB(f ? f->ident : NULL, DIGEST),
			BLOB(f && f->has_msgid ? f->msgid : NULL, DIGEST)),
		NULL, err);
	if (rc != ST_OK)
		return rc;
	*id = j->last = sqlite3_last_insert_rowid(j->db);
	if (k->uidl)
		hint_add(j, hint_uidl(k->uidl, k->uidl_n, k->occurrence));
	if (f)
		hint_facts(j, f);
	return ST_OK;
}

/* What a sink has, or may have, stays what the row says. */
static enum status fill(struct journal *j, const struct journal_row *row,
	const struct facts *f, int64_t date, struct err *err)
{
	if (row->stored | row->storing)
		return ST_OK;
	hint_facts(j, f);
	return query_change(j, Q_FILL,
		WITH(INT(row->id), INT(f->size), INT(date), BLOB(f->sha256, DIGEST),
			BLOB(f->exact, DIGEST), BLOB(f->body, DIGEST),
			BLOB(f->ident, DIGEST),
			BLOB(f->has_msgid ? f->msgid : NULL, DIGEST)),
		NULL, err);
}

/* ---- taking ---- */

static enum status retake(struct journal *j, const struct journal_key *k,
	const struct journal_row *row, const struct facts *f, int64_t date,
	struct err *err)
{
	enum status rc = fill(j, row, f, date, err);

	if (rc == ST_OK)
		rc = query_change(j, Q_RETAKE, WITH(INT(row->id), SIZE(k->listed_size)),
			NULL, err);
	/* It is no failure of this run any more. */
	if (rc == ST_OK)
		rc = query_change(
			j, Q_UNFAIL, WITH(INT(row->id), INT(j->run)), NULL, err);
	return rc;
}

static enum status take(struct journal *j, const struct journal_key *k,
	const struct facts *f, int64_t date, int64_t *id, struct err *err)
{
	struct journal_row row;
	enum status rc = row_for(j, k, f, &row, err);

	if (rc == ST_END)
		return make(j, k, f, date, J_TAKEN, id, err);
	if (rc == ST_OK)
		rc = retake(j, k, &row, f, date, err);
	if (rc == ST_OK)
		*id = row.id;
	return rc;
}

enum status journal_take(struct journal *j, const struct journal_key *k,
	const struct facts *f, int64_t date, int64_t *id, struct err *err)
{
	enum status rc;
	bool mine;

	rc = group_begin(j, &mine, err);
	if (rc != ST_OK)
		return rc;
	return group_end(j, mine, take(j, k, f, date, id, err), err);
}

/* ---- other fates ---- */

enum status row_known(struct journal *j, int64_t id, struct err *err)
{
	uint64_t last = 0;
	enum status rc = journal_count(j, &last, err);

	if (rc == ST_OK && (id < 1 || (uint64_t)id > last))
		rc = journal_misuse(j, err, "it has no message %lld", (long long)id);
	return rc;
}

/* A change to the row id, which has to be there. */
static enum status change_row(struct journal *j, enum query q, int64_t id,
	const struct value *v, size_t n, struct err *err)
{
	enum status rc;
	int rows;

	rc = query_change(j, q, v, n, &rows, err);
	if (rc == ST_OK && rows == 0)
		rc = journal_misuse(j, err, "it has no message %lld", (long long)id);
	return rc;
}

enum status journal_duplicate(
	struct journal *j, int64_t id, int64_t of, const char *rule, struct err *err)
{
	char clean[NOTE_MAX];
	enum status rc;

	if (id == of)
		return journal_misuse(
			j, err, "message %lld as a duplicate of itself", (long long)id);
	rc = row_known(j, of, err);
	if (rc != ST_OK)
		return rc;
	text_clean(clean, sizeof(clean), rule, strlen(rule));
	return change_row(j, Q_DUPLICATE, id, WITH(INT(id), INT(of), TEXT(clean)), err);
}

enum status journal_filtered(
	struct journal *j, int64_t id, const char *rule, struct err *err)
{
	char clean[NOTE_MAX];

	text_clean(clean, sizeof(clean), rule, strlen(rule));
	return change_row(j, Q_FILTERED, id, WITH(INT(id), TEXT(clean)), err);
}

enum status journal_resize(
	struct journal *j, int64_t id, uint64_t listed_size, struct err *err)
{
	return change_row(j, Q_RESIZE, id, WITH(INT(id), SIZE(listed_size)), err);
}

/* ---- failing ---- */

static enum status note_failure(struct journal *j, int64_t id,
	const struct journal_key *k, uint32_t number, const struct facts *f,
	const char *stage, const struct err *why, struct err *err)
{
	const char *raw_id = f && f->message_id ? f->message_id : "";
	const char *raw_subject = f && f->subject ? f->subject : "";
	char message_id[NOTE_MAX], subject[NOTE_MAX], at[NOTE_MAX];
	uint64_t size = f ? f->size : k->listed_size;

	text_clean(message_id, sizeof(message_id), raw_id, strlen(raw_id));
	text_clean(subject, sizeof(subject), raw_subject, strlen(raw_subject));
	text_clean(at, sizeof(at), stage, strlen(stage));
	return query_change(j, Q_FAILURE,
		WITH(id ? INT((uint64_t)id) : BLOB(NULL, 0), INT(j->run), INT(number),
			SIZE(size), TEXT(message_id), TEXT(subject), TEXT(at),
			TEXT(why->text), TEXT(why->reply), INT((uint64_t)clock_utc())),
		NULL, err);
}

static enum status fail(struct journal *j, const struct journal_key *k,
	const struct facts *f, int64_t *id, struct err *err)
{
	struct journal_row row;
	enum status rc = row_for(j, k, f, &row, err);

	*id = 0;
	if (rc == ST_END && !k->uidl && !f)
		return ST_OK; /* nothing would find that row again */
	if (rc == ST_END)
		rc = make(j, k, f, 0, J_FAILED, id, err);
	else if (rc == ST_OK && f)
		rc = fill(j, &row, f, row.date, err);
	if (rc != ST_OK)
		return rc;
	if (!*id)
		*id = row.id;
	return query_change(
		j, Q_FAILED, WITH(INT(*id), SIZE(k->listed_size)), NULL, err);
}

enum status journal_failed(struct journal *j, const struct journal_key *k,
	uint32_t number, const struct facts *f, const char *stage,
	const struct err *why, struct err *err)
{
	enum status rc;
	int64_t id;
	bool mine;

	rc = group_begin(j, &mine, err);
	if (rc != ST_OK)
		return rc;
	rc = fail(j, k, f, &id, err);
	if (rc == ST_OK)
		rc = note_failure(j, id, k, number, f, stage, why, err);
	return group_end(j, mine, rc, err);
}
