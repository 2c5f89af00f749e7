/* query.c: every statement the journal makes, and how they are run. */
#include "own.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* As row_read() in message.c reads it: digests, deletion, then the mask of its places:
 * bits 0 to 7 the sinks that have it, 8 to 15 in doubt, 16 to 23 verified. */
#define ROW \
	"m.id, m.state, m.original, m.listed_size, m.size, m.date, m.tries," \
	" m.sha256, m.exact, m.body, m.ident, m.msgid, m.kept, m.asked, m.removed," \
	" (SELECT sum((iif(p.state > 1, 1, 256) + iif(p.state > 2, 65536, 0)) << p.sink)" \
	" FROM place p WHERE p.message = m.id)"

/* Equal digests by way of the short index. */
#define SAME(column, parameter) \
	"substr(" column ", 1, 8) = substr(" parameter ", 1, 8) AND " column \
	" = " parameter

/* Where the Message-ID is theirs, too, or they have none (schema.c). */
#define SAME_EXACT(exact, msgid) SAME("m.msgid", msgid) " AND m.exact = " exact
#define SAME_BARE(exact) "m.msgid IS NULL AND " SAME("m.exact", exact)

/*
 * Every sink of ?2 has it or is being given it. (To SQL, | binds like >>.) Failed since
 * then means only that it could not be fetched once more.
 */
#define CANDIDATES(same) \
	"SELECT * FROM (SELECT " ROW \
	" AS mask FROM message m WHERE m.state IN (1, 4) AND " same ")" \
	" WHERE ((coalesce(mask, 0) | (coalesce(mask, 0) >> 8)) & ?2) = ?2" \
	" AND (state = 1 OR mask <> 0) ORDER BY id"

#define FAILURE \
	"SELECT m.uidl, f.number, f.size, f.message_id, f.subject, f.stage, f.reason," \
	" f.reply, f.tries, f.at FROM failure f LEFT JOIN message m ON m.id = f.message "

#define NOTICE \
	"SELECT m.uidl, n.number, coalesce(m.size, m.listed_size), n.message_id," \
	" n.subject, n.kind, n.text FROM notice n LEFT JOIN message m ON m.id = n.message "

#define ALIAS \
	"SELECT m.id, iif(m.state = 2, m.original, m.id) AS root, m.uidl," \
	" m.occurrence, m.aside FROM message m" \
	" WHERE (m.state = 1 OR m.state = 2 AND m.rule = 'uidl-reissued'" \
	" OR m.state = 4 AND EXISTS (SELECT 1 FROM place p" \
	" WHERE p.message = m.id)) AND "

/* The stored of a sink ?1 in states up to ?2. */
#define PLACED \
	"SELECT p.message, p.folder, p.generation, p.number, p.state, p.wire, f.name" \
	" FROM place p JOIN folder f ON f.id = p.folder" \
	" WHERE f.sink = ?1 AND p.state > 1 AND p.state <= ?2 "

/* `what` completes "cannot ...". */
static const struct {
	const char *what, *sql;
} queries[QUERIES] = {
	[Q_BEGIN] = { "begin", "BEGIN IMMEDIATE" },
	[Q_COMMIT] = { "commit", "COMMIT" },
	[Q_VERSION] = { "begin", "PRAGMA data_version" },
	[Q_ACCOUNT] = { "note the account", "INSERT INTO about VALUES (?1)" },
	[Q_SINK_COUNT] = { "count the destinations", "SELECT count(*) FROM sink" },
	[Q_SINK_MAKE] = { "note a destination",
		"INSERT INTO sink (id, identity) VALUES (?1, ?2)" },
	[Q_SINK_FIND] = { "find a destination",
		"SELECT id FROM sink WHERE identity = ?1" },
	[Q_SINKS] = { "read the destinations",
		"SELECT id, identity FROM sink ORDER BY id" },
	[Q_SETTLED] = { "read a destination",
		"SELECT settled FROM sink WHERE id = ?1" },
	[Q_SETTLE] = { "settle a destination",
		"UPDATE sink SET settled = 1 WHERE id = ?1" },
	[Q_NOTE] = { "write a note",
		"INSERT INTO note VALUES (?1, ?2)"
		" ON CONFLICT DO UPDATE SET value = excluded.value" },
	[Q_NOTED] = { "read a note", "SELECT value FROM note WHERE key = ?1" },
	[Q_NOTE_DROP] = { "remove a note", "DELETE FROM note WHERE key = ?1" },

	[Q_HINTS] = { "read the messages",
		"SELECT uidl, occurrence, sha256, exact, msgid FROM message" },
	[Q_FIND] = { "find a message",
		"SELECT " ROW " FROM message m"
		" WHERE m.uidl = ?1 AND m.occurrence = ?2 AND m.aside = 0" },
	[Q_FIND_CONTENT] = { "find a message by content",
		"SELECT " ROW " FROM message m WHERE m.uidl IS NULL AND " SAME(
			"m.sha256", "?1") " AND m.id > ?2 ORDER BY m.id LIMIT 1" },
	[Q_GET] = { "read a message", "SELECT " ROW " FROM message m WHERE m.id = ?1" },
	/* None is ever deleted. */
	[Q_COUNT] = { "count the messages",
		"SELECT coalesce(max(id), 0) FROM message" },
	[Q_UIDL] = { "read a message", "SELECT uidl FROM message WHERE id = ?1" },
	/* Both in the order of the messages, as they lie in the file. */
	[Q_WALK] = { "read the messages",
		"SELECT id, state, iif(state = 2, original, 0), listed_size, size, date,"
		" uidl, occurrence FROM message NOT INDEXED"
		" WHERE uidl IS NOT NULL AND aside = 0 ORDER BY id" },
	[Q_WALK_PLACES] = { "read the places",
		"SELECT message, sink, state FROM place NOT INDEXED"
		" ORDER BY message" },
	[Q_MAKE] = { "add a message",
		"INSERT INTO message (uidl, occurrence, state, listed_size, size, date,"
		" sha256, exact, body, ident, msgid)"
		" VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)" },
	[Q_FILL] = { "note a message's content",
		"UPDATE message SET size = ?2, date = ?3, sha256 = ?4, exact = ?5,"
		" body = ?6, ident = ?7, msgid = ?8 WHERE id = ?1" },
	[Q_RETAKE] = { "take a message",
		"UPDATE message SET state = 1, original = NULL, rule = NULL,"
		" listed_size = coalesce(?2, listed_size) WHERE id = ?1" },
	/* What it was before its UIDL's new message failed, it is again. */
	[Q_ASIDE] = { "set a message aside",
		"UPDATE message SET aside = id, state = CASE"
		" WHEN state = 4 AND original IS NOT NULL THEN 2"
		" WHEN state = 4 AND EXISTS (SELECT * FROM place p"
		" WHERE p.message = message.id AND p.state > 1) THEN 1"
		" ELSE state END WHERE id = ?1" },
	[Q_DUPLICATE] = { "note a duplicate",
		"UPDATE message SET state = 2, original = ?2, rule = ?3 WHERE id = ?1" },
	[Q_FILTERED] = { "note a filtered message",
		"UPDATE message SET state = 3, original = NULL, rule = ?2 WHERE id = ?1" },
	[Q_RESIZE] = { "note a message's size",
		"UPDATE message SET listed_size = ?2 WHERE id = ?1" },
	[Q_FAILED] = { "note a failure",
		"UPDATE message SET state = 4, tries = tries + 1,"
		" listed_size = coalesce(?2, listed_size) WHERE id = ?1" },
	[Q_BY_MSGID] = { "look for duplicates", CANDIDATES(SAME("m.msgid", "?1")) },
	/* By way of the indexes first. Places without a number nobody has claimed. */
	[Q_RIVAL] = { "look for others like it",
		"SELECT 1 FROM message m WHERE " SAME_EXACT("?2",
			"?5") " AND m.exact <> ?1"
			      " AND EXISTS (SELECT 1 FROM place p WHERE p.message = m.id)"
			      " UNION ALL SELECT 1 FROM message m WHERE " SAME_BARE(
				      "?2") " AND m.exact <> ?1"
					    " AND EXISTS (SELECT 1 FROM place p WHERE p.message = m.id)"
					    " UNION ALL SELECT 1 FROM message m WHERE " SAME(
						    "m.msgid",
						    "?3") " AND m.exact <> ?1"
							  " AND EXISTS (SELECT 1 FROM place p WHERE p.message = m.id)"
							  " UNION ALL SELECT 1 FROM place p JOIN message m ON m.id = p.message"
							  " WHERE (p.state = 1 OR p.number = 0) AND m.ident = ?4 AND m.exact <> ?1"
							  " LIMIT 1" },
	[Q_BY_EXACT] = { "look for duplicates", CANDIDATES(SAME_EXACT("?1", "?3")) },
	[Q_BY_EXACT_BARE] = { "look for duplicates", CANDIDATES(SAME_BARE("?1")) },

	[Q_FOLDER] = { "note a folder",
		"INSERT INTO folder (sink, name) SELECT id, ?2 FROM sink WHERE id = ?1" },
	[Q_FOLDER_FIND] = { "find a folder",
		"SELECT id FROM folder WHERE sink = ?1 AND name = ?2" },
	[Q_FOLDER_TOP] = { "read the places",
		"SELECT max(number) FROM place WHERE folder = ?1 AND generation = ?2"
		" AND state > 1 AND number <> 0" },
	[Q_STORING] = { "note what is about to be stored",
		"INSERT INTO place (message, sink, state, folder, generation, number,"
		" since) VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6)"
		" ON CONFLICT DO UPDATE SET folder = excluded.folder,"
		" generation = iif(folder = excluded.folder, generation,"
		" excluded.generation),"
		" number = iif(folder = excluded.folder, number, excluded.number),"
		" since = iif(folder = excluded.folder, since, excluded.since)"
		" WHERE state = 1" },
	[Q_STORING_ALL] = { "note what is about to be stored",
		"INSERT INTO place (message, sink, state, folder, generation, number,"
		" since) SELECT id, ?3, 1, ?4, ?5, ?6, ?7 FROM message"
		" WHERE id BETWEEN ?1 AND ?2" },
	[Q_DOUBT] = { "read what is in doubt",
		"SELECT p.generation, p.number, p.since, f.name FROM place p"
		" JOIN folder f ON f.id = p.folder"
		" WHERE p.message = ?1 AND p.sink = ?2 AND p.state = 1" },
	[Q_NOT_STORED] = { "note what is not stored",
		"DELETE FROM place WHERE message = ?1 AND sink = ?2" },
	[Q_STORED] = { "note what is stored",
		"UPDATE OR IGNORE place SET state = 2, generation = ?3, number = ?4,"
		" wire = ?5, since = ?6 WHERE message = ?1 AND sink = ?2" },
	[Q_STORED_ALL] = { "note what is stored",
		"UPDATE OR IGNORE place SET state = 2, generation = ?4,"
		" number = ?5 + (message - ?1) * ?6, wire = NULL, since = ?7"
		" WHERE message BETWEEN ?1 AND ?2 AND sink = ?3" },
	[Q_HOLDER] = { "read a place",
		"SELECT q.message, f.name FROM place p"
		" JOIN folder f ON f.id = p.folder"
		" LEFT JOIN place q ON q.folder = p.folder AND q.generation = ?3"
		" AND q.number = ?4 AND q.number <> 0 AND q.state > 1"
		" WHERE p.message = ?1 AND p.sink = ?2" },
	[Q_PLACE] = { "read a place",
		"SELECT generation, number FROM place"
		" WHERE message = ?1 AND sink = ?2 AND state > 1" },
	[Q_PLACES] = { "read the places",
		"SELECT p.generation, p.number, m.exact FROM folder f"
		" JOIN place p ON p.folder = f.id AND p.state > 1 AND p.number <> 0"
		" JOIN message m ON m.id = p.message"
		" WHERE f.sink = ?1 AND (?2 IS NULL OR f.name = ?2)"
		" ORDER BY p.generation, p.number" },

	[Q_RUN_BEGIN] = { "begin a run", "INSERT INTO run (started) VALUES (?1)" },
	[Q_RUN_END] = { "end a run",
		"UPDATE run SET finished = ?2, exit = ?3, reason = ?4, listed = ?5,"
		" known = ?6, stored = ?7, duplicate = ?8, filtered = ?9, failed = ?10,"
		" vanished = ?11, left_over = ?12, bytes = ?13, deleted = ?14,"
		" delete_left = ?15 WHERE id = ?1" },
	[Q_LAST_RUN] = { "read the latest run",
		"SELECT id, started, finished, exit, reason, listed, known, stored,"
		" duplicate, filtered, failed, vanished, left_over, bytes, deleted,"
		" delete_left"
		" FROM run ORDER BY id DESC LIMIT 1" },
	[Q_TOTALS] = { "count the messages",
		"SELECT count(*) FILTER (WHERE state < 4 OR aside = 0) + nameless,"
		" count(*) FILTER (WHERE state = 1 AND mask & 65535 BETWEEN 1 AND 255),"
		" count(*) FILTER (WHERE state = 1 AND mask & 65280),"
		" count(*) FILTER (WHERE state = 2), count(*) FILTER (WHERE state = 3),"
		" count(*) FILTER (WHERE state = 4 AND aside = 0) + nameless,"
		" coalesce(sum(size) FILTER (WHERE state = 1"
		" AND mask & 65535 BETWEEN 1 AND 255), 0),"
		" count(*) FILTER (WHERE state = 1 AND mask & 65535 BETWEEN 1 AND 255"
		" AND mask >> 16 = mask & 255),"
		" count(*) FILTER (WHERE removed IS NOT NULL)"
		" FROM (SELECT count(*) AS nameless FROM failure WHERE message IS NULL"
		" AND run = (SELECT coalesce(max(id), 0) FROM run)) LEFT JOIN"
		" (SELECT " ROW " AS mask, m.aside FROM message m) ON 1" },
	[Q_FAILURE] = { "note a failure",
		"INSERT INTO failure (message, run, number, size, tries, message_id,"
		" subject, stage, reason, reply, at)"
		" VALUES (?1, ?2, ?3, ?4, coalesce((SELECT tries FROM message"
		" WHERE id = ?1), 1), ?5, ?6, ?7, ?8, ?9, ?10)"
		" ON CONFLICT DO UPDATE SET number = excluded.number,"
		" size = excluded.size, tries = excluded.tries,"
		" message_id = excluded.message_id, subject = excluded.subject,"
		" stage = excluded.stage, reason = excluded.reason,"
		" reply = excluded.reply, at = excluded.at" },
	[Q_UNFAIL] = { "take a message",
		"DELETE FROM failure WHERE message = ?1 AND run = ?2" },
	[Q_FAILURES_NOW] = { "read the failures",
		FAILURE
		"WHERE m.state = 4 AND m.aside = 0 AND f.id ="
		" (SELECT max(g.id) FROM failure g WHERE g.message = m.id)"
		" OR m.id IS NULL AND f.run = (SELECT coalesce(max(id), 0) FROM run)"
		" ORDER BY f.id" },
	[Q_FAILURES_RUN] = { "read the failures",
		FAILURE "WHERE f.run = ?1 ORDER BY f.id" },

	[Q_ALIASES] = { "look for other names",
		ALIAS SAME_EXACT("?1", "?3") " AND m.id > ?2 ORDER BY m.id" },
	[Q_ALIASES_BARE] = { "look for other names",
		ALIAS SAME_BARE("?1") " AND m.id > ?2 ORDER BY m.id" },
	[Q_NAMES] = { "look for other names",
		ALIAS "m.exact = ?1 AND m.id = ?2 UNION ALL " ALIAS
		      "m.exact = ?1 AND m.original = ?2"
		      " AND m.state = 2 AND m.rule = 'uidl-reissued'" },
	[Q_ROOT] = { "look for other names",
		"SELECT original FROM message"
		" WHERE id = ?1 AND state = 2 AND rule = 'uidl-reissued'" },

	[Q_NOTICE] = { "write a notice",
		"INSERT INTO notice (message, run, kind, text) VALUES (?1, ?2, ?3, ?4)"
		" ON CONFLICT DO UPDATE SET text = excluded.text" },
	[Q_NOTICE_ABOUT] = { "complete a notice",
		"UPDATE notice SET number = ?3, message_id = ?4, subject = ?5"
		" WHERE message = ?1 AND run = ?2" },
	[Q_NOTICES] = { "read the notices", NOTICE "ORDER BY n.id" },
	[Q_NOTICES_RUN] = { "read the notices",
		NOTICE "WHERE n.run = ?1 ORDER BY n.id" },
	[Q_NOTICE_KINDS] = { "read the notices",
		"SELECT kind FROM notice WHERE message = ?1 ORDER BY id" },

	[Q_VERIFIED] = { "note what is verified",
		"UPDATE OR IGNORE place SET state = 3, generation = ?3, number = ?4,"
		" since = coalesce(since, ?5)"
		" WHERE message = ?1 AND sink = ?2 AND state > 1" },
	[Q_DOUBTFUL] = { "note what is missing",
		"UPDATE place SET state = 1, number = 1, wire = NULL, since = ?3"
		" WHERE message = ?1 AND sink = ?2 AND state = 2" },
	[Q_NEXT_DOUBT] = { "read what is in doubt",
		"SELECT p.message, f.name FROM place p JOIN folder f ON f.id = p.folder"
		" WHERE p.sink = ?1 AND p.state = 1 AND p.message > ?2"
		" ORDER BY p.message LIMIT 1" },
	[Q_PLACED] = { "read the places",
		PLACED "AND p.number <> 0"
		       " AND (p.folder, p.generation, p.number) > (?3, ?4, ?5)"
		       " ORDER BY p.folder, p.generation, p.number LIMIT ?6" },
	[Q_PLACED_UNKNOWN] = { "read the places",
		PLACED
		"AND p.number = 0 AND (p.folder, p.generation, p.message)"
		" > (?3, ?4, ?5) ORDER BY p.folder, p.generation, p.message LIMIT ?6" },
	[Q_STORED_AT] = { "read the places",
		"SELECT count(*), max(iif(since IS NULL, ?3, since)) FROM place"
		" WHERE message = ?1 AND (1 << sink) & ?2 AND state > 1" },
	[Q_NEWEST_PLACE] = { "read the places",
		"SELECT ifnull(max(number), 0) FROM place WHERE sink = ?1 AND state > 1" },

	[Q_REMOVE_ASKED] = { "note a deletion",
		"UPDATE message SET asks = asks + 1, asked = ?2, removed = NULL"
		" WHERE id = ?1" },
	[Q_REMOVE_KEPT] = { "note a deletion",
		"UPDATE message SET kept = kept + 1, asked = NULL, removed = NULL"
		" WHERE id = ?1" },
	[Q_REMOVE_SETTLED] = { "note a deletion",
		"UPDATE message SET asked = NULL, removed = ?2 WHERE id = ?1" },
	[Q_REMOVALS] = { "read the deletions",
		"SELECT id FROM message"
		" WHERE asked IS NOT NULL AND id > ?1 ORDER BY id LIMIT 1" },
	[Q_REMOVED_COUNT] = { "count the deletions",
		"SELECT coalesce(sum(asks), 0) FROM message WHERE asks > 0" },
	[Q_FAILED_IN] = { "read the failures",
		"SELECT 1 FROM failure WHERE message = ?1 AND run = ?2" },
};

/* Places do not matter to these, so that those kept back may wait. */
static const bool apart[QUERIES] = {
	[Q_MAKE] = true,
	[Q_FOLDER] = true,
	[Q_FOLDER_FIND] = true,
	[Q_STORING_ALL] = true,
	[Q_STORED_ALL] = true,
};

/* ---- what went wrong ---- */

static const struct {
	int code, exit;
	const char *advice;
} causes[] = {
	{ SQLITE_FULL, EX_IOERR, "make room on its disk and run again" },
	{ SQLITE_IOERR, EX_IOERR, "look at its disk and quota, then run again" },
	{ SQLITE_CORRUPT, EX_DATAERR, "it is damaged: put a backup in its place" },
	{ SQLITE_NOTADB, EX_DATAERR,
		"it is damaged or not popferry's: put a backup in its place" },
	{ SQLITE_BUSY, EX_TEMPFAIL, "another program holds it: try again later" },
	{ SQLITE_CANTOPEN, EX_CANTCREAT, "look at the rights to its directory" },
	{ SQLITE_READONLY, EX_CANTCREAT, "look at the rights to it" },
	{ SQLITE_PERM, EX_CANTCREAT, "look at the rights to it" },
	{ SQLITE_NOMEM, EX_TEMPFAIL, "try again when there is more memory" },
};

enum status journal_sql_error(
	struct journal *j, int rc, const char *doing, struct err *err)
{
	int seen = errno, no = sqlite3_system_errno(j->db);
	const char *said = sqlite3_errmsg(j->db), *why;
	size_t i = 0;

	/* SQLite calls a page malformed also when it could not be read. */
	if (seen == EIO && (rc & 0xff) == SQLITE_CORRUPT) {
		rc = SQLITE_IOERR;
		said = sqlite3_errstr(rc);
		no = seen;
	}
	if (j->open)
		j->broken = true;
	while (i < N_ELEMENTS(causes) && causes[i].code != (rc & 0xff))
		i++;
	if (i == N_ELEMENTS(causes))
		return err_set(err, ST_FATAL, EX_SOFTWARE,
			"%s: cannot %s: %s: please report this", j->path, doing, said);
	why = causes[i].exit == EX_DATAERR || no == 0 ? "" : strerror(no);
	return err_set(err, ST_FATAL, causes[i].exit, "%s: cannot %s: %s%s%s: %s",
		j->path, doing, said, *why ? ": " : "", why, causes[i].advice);
}

enum status journal_misuse(struct journal *j, struct err *err, const char *fmt, ...)
{
	char text[ERR_TEXT];
	va_list ap;

	if (j->open)
		j->broken = true;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(err, ST_FATAL, EX_SOFTWARE, "%s: %s: please report this",
		j->path, text);
}

enum status journal_damaged(struct journal *j, struct err *err, int64_t id)
{
	if (j->open)
		j->broken = true;
	return err_set(err, ST_FATAL, EX_DATAERR,
		"%s: message %lld makes no sense: it is damaged: put a backup in its place",
		j->path, (long long)id);
}

/* ---- running them ---- */

static int bind(sqlite3_stmt *st, int i, const struct value *v)
{
	switch (v->type) {
	case V_INT:
		return sqlite3_bind_int64(st, i, v->i);
	case V_TEXT:
		return sqlite3_bind_text(st, i, v->p, -1, SQLITE_STATIC);
	case V_BLOB:
		return sqlite3_bind_blob64(st, i, v->p, v->n, SQLITE_STATIC);
	default:
		return sqlite3_bind_null(st, i);
	}
}

static enum status start(struct journal *j, enum query q, const struct value *v,
	size_t n, struct err *err)
{
	int rc = SQLITE_OK;
	size_t i;

	errno = 0; /* journal_sql_error() looks at it */
	if (!j->stmt[q]) {
		rc = sqlite3_prepare_v3(j->db, queries[q].sql, -1,
			SQLITE_PREPARE_PERSISTENT, &j->stmt[q], NULL);
		if (rc == SQLITE_ERROR) /* a table is gone */
			rc = SQLITE_CORRUPT;
	}
	for (i = 0; i < n && rc == SQLITE_OK; i++)
		rc = bind(j->stmt[q], (int)i + 1, &v[i]);
	if (rc != SQLITE_OK)
		return journal_sql_error(j, rc, queries[q].what, err);
	return ST_OK;
}

void query_done(struct journal *j, enum query q)
{
	sqlite3_reset(j->stmt[q]);
	sqlite3_clear_bindings(j->stmt[q]);
}

enum status query_next(struct journal *j, enum query q, struct err *err)
{
	enum status st = ST_END;
	int rc;

	errno = 0;
	rc = sqlite3_step(j->stmt[q]);
	if (rc == SQLITE_ROW)
		return ST_OK;
	if (rc != SQLITE_DONE)
		st = journal_sql_error(j, rc, queries[q].what, err);
	query_done(j, q);
	return st;
}

enum status query_row(struct journal *j, enum query q, const struct value *v, size_t n,
	struct err *err)
{
	enum status rc = ST_OK;

	if (j->streaks && !apart[q])
		rc = streak_write(j, err);
	if (rc == ST_OK)
		rc = start(j, q, v, n, err);
	return rc == ST_OK ? query_next(j, q, err) : rc;
}

enum status query_change(struct journal *j, enum query q, const struct value *v,
	size_t n, int *rows, struct err *err)
{
	enum status rc;

	if (j->broken)
		return err_set(err, ST_FATAL, EX_SOFTWARE,
			"%s: cannot %s: an earlier change of this transaction failed",
			j->path, queries[q].what);
	rc = query_row(j, q, v, n, err);
	if (rc == ST_OK)
		query_done(j, q);
	if (rc != ST_OK && rc != ST_END)
		return rc;
	if (rows)
		*rows = sqlite3_changes(j->db);
	return ST_OK;
}

int64_t col_int(struct journal *j, enum query q, int i)
{
	return sqlite3_column_int64(j->stmt[q], i);
}

int64_t col_int_or(struct journal *j, enum query q, int i, int64_t none)
{
	if (sqlite3_column_type(j->stmt[q], i) == SQLITE_NULL)
		return none;
	return col_int(j, q, i);
}

const char *col_text(struct journal *j, enum query q, int i)
{
	const char *s = (const char *)sqlite3_column_text(j->stmt[q], i);

	return s ? s : "";
}

const void *col_blob(struct journal *j, enum query q, int i, size_t *n)
{
	const void *p = sqlite3_column_blob(j->stmt[q], i);

	/* SQLite gives NULL for an empty blob too. */
	if (!p && sqlite3_column_type(j->stmt[q], i) != SQLITE_NULL)
		p = "";
	*n = (size_t)sqlite3_column_bytes(j->stmt[q], i);
	return p;
}
