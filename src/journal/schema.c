/*
 * schema.c: what the database holds, and how it came to be so.
 *
 * The file says what it is by application_id ("Pfry") and which version of
 * the tables it has by user_version. Both are set in the transaction that
 * makes the tables, so a file with neither is one where that never ended.
 *
 *	about    one row: the source account; for ever, once it has listed something
 *	sink     a destination ever used; its id is a bit of the masks
 *	folder   a name in a sink, so that places need not repeat it
 *	message  one message of the source. Its key is (uidl, occurrence); uidl is
 *	         NULL when the server gives none, and then content finds it. aside
 *	         is 0 for the key's current row; a row whose UIDL turned up with
 *	         other content keeps its history with aside = its own id.
 *	         size is NULL until the content is known, and the digests with it.
 *	         original: the row it is a duplicate of.
 *	place    where one sink has a message (state 2, 3: generation and number are
 *	         the receipt) or may have it (1: they are the floor, since is when).
 *	         number 0: the server did not tell. wire: what went up when that
 *	         differs from the record.
 *	         since in states 2, 3: when it was stored (NULL: before version 2).
 *	run      one row a run, with its ledger; finished is NULL until it ends
 *	failure  why a message failed in a run. message is NULL for one with neither
 *	         UIDL nor content: nothing says which it was in another run.
 *	note     small facts that outlive a run
 *
 * Version 2:
 *
 *	message  asks: times the source was asked to delete it; asked: when, if what
 *	         came of it
 *	         is not known yet; removed: when a listing no longer showed it after
 *	         that; kept: times it was still there although the source agreed.
 *	notice   what a reader of the report should know of a message in a run;
 *	         message is NULL for one about the whole run
 *
 * Version 5: exact has an index only of messages without a Message-ID. The others are
 * found by that, for it is part of what exact is made from: where exact is equal, so is
 * msgid (t_facts_digest).
 *
 * The indexes on digests hold eight bytes of them: enough to find a row, and
 * a fourth of the space. The whole digest is compared after that.
 */
#include <popferry/fault.h>

#include "own.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	APPLICATION_ID = 0x50667279,
	CHECK_SOON = 1000, /* pages that are checked in no time */
};

/* step[n] takes version n to n + 1. Never edit one that was released: add one. */
static const char *const step[] = {
	"CREATE TABLE about ("
	"	account TEXT NOT NULL"
	") STRICT;"
	"CREATE TABLE sink ("
	"	id INTEGER PRIMARY KEY CHECK (id BETWEEN 0 AND 7),"
	"	identity TEXT NOT NULL UNIQUE,"
	"	settled INTEGER NOT NULL DEFAULT 0"
	") STRICT;"
	"CREATE TABLE folder ("
	"	id INTEGER PRIMARY KEY,"
	"	sink INTEGER NOT NULL REFERENCES sink,"
	"	name TEXT NOT NULL,"
	"	UNIQUE (sink, name)"
	") STRICT;"
	"CREATE TABLE message ("
	"	id INTEGER PRIMARY KEY,"
	"	uidl BLOB,"
	"	occurrence INTEGER NOT NULL,"
	"	aside INTEGER NOT NULL DEFAULT 0,"
	"	state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 4),"
	"	tries INTEGER NOT NULL DEFAULT 0,"
	"	listed_size INTEGER,"
	"	size INTEGER,"
	"	date INTEGER,"
	"	sha256 BLOB,"
	"	exact BLOB,"
	"	body BLOB,"
	"	ident BLOB,"
	"	msgid BLOB,"
	"	original INTEGER REFERENCES message,"
	"	rule TEXT"
	") STRICT;"
	"CREATE UNIQUE INDEX message_key ON message (uidl, occurrence, aside)"
	"	WHERE uidl IS NOT NULL;"
	"CREATE INDEX message_nameless ON message (substr(sha256, 1, 8))"
	"	WHERE uidl IS NULL;"
	"CREATE INDEX message_msgid ON message (substr(msgid, 1, 8))"
	"	WHERE msgid IS NOT NULL;"
	"CREATE INDEX message_exact ON message (substr(exact, 1, 8))"
	"	WHERE exact IS NOT NULL;"
	"CREATE TABLE place ("
	"	message INTEGER NOT NULL REFERENCES message,"
	"	sink INTEGER NOT NULL REFERENCES sink,"
	"	state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 3),"
	"	folder INTEGER NOT NULL REFERENCES folder,"
	"	generation INTEGER NOT NULL,"
	"	number INTEGER NOT NULL,"
	"	since INTEGER,"
	"	wire BLOB,"
	"	PRIMARY KEY (message, sink)"
	") STRICT, WITHOUT ROWID;"
	"CREATE UNIQUE INDEX place_once ON place (folder, generation, number)"
	"	WHERE state > 1 AND number <> 0;"
	"CREATE TABLE run ("
	"	id INTEGER PRIMARY KEY,"
	"	started INTEGER NOT NULL,"
	"	finished INTEGER,"
	"	exit INTEGER NOT NULL DEFAULT 0,"
	"	reason TEXT NOT NULL DEFAULT '',"
	"	listed INTEGER NOT NULL DEFAULT 0,"
	"	known INTEGER NOT NULL DEFAULT 0,"
	"	stored INTEGER NOT NULL DEFAULT 0,"
	"	duplicate INTEGER NOT NULL DEFAULT 0,"
	"	filtered INTEGER NOT NULL DEFAULT 0,"
	"	failed INTEGER NOT NULL DEFAULT 0,"
	"	vanished INTEGER NOT NULL DEFAULT 0,"
	"	left_over INTEGER NOT NULL DEFAULT 0,"
	"	bytes INTEGER NOT NULL DEFAULT 0"
	") STRICT;"
	"CREATE TABLE failure ("
	"	id INTEGER PRIMARY KEY,"
	"	message INTEGER REFERENCES message,"
	"	run INTEGER NOT NULL,"
	"	number INTEGER NOT NULL,"
	"	size INTEGER,"
	"	tries INTEGER NOT NULL,"
	"	message_id TEXT NOT NULL,"
	"	subject TEXT NOT NULL,"
	"	stage TEXT NOT NULL,"
	"	reason TEXT NOT NULL,"
	"	reply TEXT NOT NULL,"
	"	UNIQUE (message, run)"
	") STRICT;"
	"CREATE INDEX failure_run ON failure (run);"
	"CREATE TABLE note ("
	"	key TEXT PRIMARY KEY,"
	"	value TEXT NOT NULL"
	") STRICT, WITHOUT ROWID;",

	"ALTER TABLE message ADD COLUMN asks INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE message ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE message ADD COLUMN asked INTEGER;"
	"ALTER TABLE message ADD COLUMN removed INTEGER;"
	"CREATE INDEX message_asked ON message (id) WHERE asked IS NOT NULL;"
	"CREATE INDEX message_asks ON message (asks) WHERE asks > 0;"
	"ALTER TABLE run ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE run ADD COLUMN delete_left INTEGER NOT NULL DEFAULT 0;"
	"CREATE TABLE notice ("
	"	id INTEGER PRIMARY KEY,"
	"	message INTEGER REFERENCES message,"
	"	run INTEGER NOT NULL,"
	"	number INTEGER NOT NULL DEFAULT 0,"
	"	message_id TEXT NOT NULL DEFAULT '',"
	"	subject TEXT NOT NULL DEFAULT '',"
	"	kind TEXT NOT NULL,"
	"	text TEXT NOT NULL,"
	"	UNIQUE (message, run, kind)"
	") STRICT;"
	"CREATE INDEX notice_run ON notice (run);",

	"ALTER TABLE failure ADD COLUMN at INTEGER;",

	"CREATE INDEX message_reissued ON message (original)"
	"	WHERE rule = 'uidl-reissued';",

	"DROP INDEX message_exact;"
	"CREATE INDEX message_bare ON message (substr(exact, 1, 8))"
	"	WHERE exact IS NOT NULL AND msgid IS NULL;",
};

enum { VERSION_NOW = N_ELEMENTS(step) };

/*
 * Runs a text without parameters. Its first value goes to *number or *text (yours),
 * when they are not NULL. ST_END: it gave no row.
 */
static enum status ask(struct journal *j, const char *sql, int64_t *number, char **text,
	struct err *err)
{
	sqlite3_stmt *st = NULL;
	int rc, end;
	const char *s;

	errno = 0;
	rc = sqlite3_prepare_v2(j->db, sql, -1, &st, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW && number)
		*number = sqlite3_column_int64(st, 0);
	if (rc == SQLITE_ROW && text) {
		s = (const char *)sqlite3_column_text(st, 0);
		*text = xstrdup(s ? s : "");
	}
	/* What a row came from may end only now, and badly. */
	end = sqlite3_finalize(st);
	if (rc == SQLITE_ROW && end != SQLITE_OK)
		rc = end;
	if (rc == SQLITE_ROW)
		return ST_OK;
	if (rc == SQLITE_DONE)
		return ST_END;
	/* The texts are right: what they do not find was there. */
	return journal_sql_error(
		j, rc == SQLITE_ERROR ? SQLITE_CORRUPT : rc, "open", err);
}

/* One that gives no row. */
static enum status tell(struct journal *j, const char *sql, struct err *err)
{
	enum status rc = ask(j, sql, NULL, NULL, err);

	return rc == ST_END ? ST_OK : rc;
}

/* What is this file? Nothing has been written to it yet. */
static enum status identify(struct journal *j, int64_t *version, struct err *err)
{
	int64_t id = 0, tables = 0;
	enum status rc;

	rc = ask(j, "PRAGMA application_id", &id, NULL, err);
	if (rc == ST_OK)
		rc = ask(j, "PRAGMA user_version", version, NULL, err);
	if (rc == ST_OK)
		rc = ask(j, "SELECT count(*) FROM sqlite_schema", &tables, NULL, err);
	if (rc != ST_OK)
		return rc;
	if (id != APPLICATION_ID && (id || *version || tables))
		return err_set(err, ST_FATAL, EX_DATAERR,
			"%s is a database of another program: move it away or name another state directory",
			j->path);
	if (id == APPLICATION_ID && *version < 1)
		return err_set(err, ST_FATAL, EX_DATAERR,
			"%s is damaged (version %lld): put a backup in its place",
			j->path, (long long)*version);
	if (*version > VERSION_NOW)
		return err_set(err, ST_FATAL, EX_CONFIG,
			"%s was written by a newer popferry (version %lld, this one knows %d): use that one, or another state directory",
			j->path, (long long)*version, (int)VERSION_NOW);
	return ST_OK;
}

/* So that a commit is on disk, and readers need not wait for it. */
static enum status set_up(struct journal *j, struct err *err)
{
	char *mode = NULL;
	enum status rc = ask(j, "PRAGMA journal_mode = WAL", NULL, &mode, err);

	if (rc == ST_OK && strcmp(mode, "wal") != 0)
		rc = err_set(err, ST_FATAL, EX_CONFIG,
			"%s: this file system cannot share memory between programs: put the state directory on a local disk",
			j->path);
	free(mode);
	if (rc == ST_OK)
		rc = tell(j, "PRAGMA synchronous = FULL", err);
	/* Each time it syncs twice and writes again what every batch changes. */
	if (rc == ST_OK)
		rc = ask(j, "PRAGMA wal_autocheckpoint = 4000", NULL, NULL, err);
	return rc == ST_OK ? tell(j, "PRAGMA cache_size = -2048", err) : rc;
}

/* What is found is that a page could not be read: for that it says SQLite's code. */
static int unreadable(const char *found)
{
	const char *code = strstr(found, "error code=");

	if (errno == EIO)
		return SQLITE_IOERR;
	return code ? (int)strtol(code + strlen("error code="), NULL, 10) : 0;
}

/*
 * A run that finds damage halfway is worse than one that does not begin. This
 * takes half a second for a million messages.
 */
enum status schema_check(struct journal *j, struct err *err)
{
	char *found = NULL;
	enum status rc = ask(j, "PRAGMA quick_check(1)", NULL, &found, err);
	bool bad = rc == ST_OK && strcmp(found, "ok") != 0;
	int code = bad ? unreadable(found) & 0xff : 0;

	if (code == SQLITE_IOERR || code == SQLITE_NOMEM)
		rc = journal_sql_error(j, code, "check it", err);
	else if (bad)
		rc = err_set(err, ST_FATAL, EX_DATAERR,
			"%s is damaged: %s: put a backup in its place", j->path, found);
	free(found);
	return rc;
}

static enum status set_number(
	struct journal *j, const char *name, int number, struct err *err)
{
	char sql[80];

	snprintf(sql, sizeof(sql), "PRAGMA %s = %d", name, number);
	return tell(j, sql, err);
}

static enum status run_steps(
	struct journal *j, int64_t version, const char *account, struct err *err)
{
	enum status rc = ST_OK;
	int64_t n;
	int sql;

	for (n = version; n < VERSION_NOW; n++) {
		sql = sqlite3_exec(j->db, step[n], NULL, NULL, NULL);
		if (sql != SQLITE_OK)
			return journal_sql_error(j, sql, "make its tables", err);
	}
	if (version == 0)
		rc = query_change(j, Q_ACCOUNT, WITH(TEXT(account)), NULL, err);
	if (rc == ST_OK)
		rc = set_number(j, "application_id", APPLICATION_ID, err);
	if (rc == ST_OK)
		rc = set_number(j, "user_version", VERSION_NOW, err);
	return rc;
}

static enum status bring_up(
	struct journal *j, int64_t version, const char *account, struct err *err)
{
	enum status rc;
	bool mine;

	rc = group_begin(j, &mine, err);
	if (rc != ST_OK)
		return rc;
	rc = run_steps(j, version, account, err);
	fault_step("journal-schema");
	return group_end(j, mine, rc, err);
}

/*
 * An older file that may only be read: it is brought up to date in a temporary
 * copy, which SQLite keeps on disk when it is large.
 */
static enum status copy_up(struct journal *j, int64_t version, struct err *err)
{
	sqlite3 *copy = NULL, *file = j->db;
	sqlite3_backup *b = NULL;
	int rc = sqlite3_open_v2("", &copy,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	enum status st;

	if (rc == SQLITE_OK)
		b = sqlite3_backup_init(copy, "main", file, "main");
	if (b)
		sqlite3_backup_step(b, -1);
	if (b)
		rc = sqlite3_backup_finish(b);
	else if (rc == SQLITE_OK)
		rc = sqlite3_errcode(copy);
	j->db = copy;
	if (rc == SQLITE_OK)
		rc = sqlite3_extended_result_codes(copy, 1);
	st = rc == SQLITE_OK ? bring_up(j, version, NULL, err)
			     : journal_sql_error(j, rc, "copy it", err);
	/* Whoever writes now would write to a copy. */
	if (st == ST_OK)
		st = tell(j, "PRAGMA query_only = 1", err);
	sqlite3_close(file);
	return st;
}

/*
 * A run that never got to a listing, as with a host that is misspelt, leaves nothing of
 * its source here but what is noted of the server: then the journal is the next one's.
 */
static enum status take_over(struct journal *j, const char *account, struct err *err)
{
	enum status rc;
	bool mine;

	rc = group_begin(j, &mine, err);
	if (rc != ST_OK)
		return rc;
	rc = tell(j, "DELETE FROM about", err);
	if (rc == ST_OK)
		rc = tell(j, "DELETE FROM note", err);
	if (rc == ST_OK)
		rc = tell(j, "UPDATE sink SET settled = 0", err);
	if (rc == ST_OK)
		rc = query_change(j, Q_ACCOUNT, WITH(TEXT(account)), NULL, err);
	return group_end(j, mine, rc, err);
}

static enum status check_account(
	struct journal *j, const char *account, bool read_only, struct err *err)
{
	enum status rc = ask(j, "SELECT account FROM about", NULL, &j->account, err);
	int64_t used = 0;

	if (rc == ST_END)
		return err_set(err, ST_FATAL, EX_DATAERR,
			"%s is damaged (it names no account): put a backup in its place",
			j->path);
	if (rc != ST_OK || !account || strcmp(account, j->account) == 0)
		return rc;
	rc = ask(j,
		"SELECT EXISTS (SELECT 1 FROM message)"
		"	OR EXISTS (SELECT 1 FROM run WHERE listed > 0)",
		&used, NULL, err);
	if (rc == ST_OK && used)
		return err_set(err, ST_FATAL, EX_CONFIG,
			"%s belongs to the source %s, not to %s: name another state directory",
			j->path, j->account, account);
	free(j->account);
	j->account = xstrdup(account);
	return rc == ST_OK && !read_only ? take_over(j, account, err) : rc;
}

enum status schema_open(struct journal *j, const char *account, bool read_only,
	bool *unchecked, struct err *err)
{
	int64_t version = 0, pages = 0;
	enum status rc = identify(j, &version, err);

	if (rc != ST_OK)
		return rc;
	if (read_only && version == 0)
		return ST_END;
	if (read_only) {
		if (version < VERSION_NOW)
			rc = copy_up(j, version, err);
		return rc == ST_OK ? check_account(j, account, true, err) : rc;
	}
	rc = set_up(j, err);
	if (rc == ST_OK && unchecked)
		rc = ask(j, "PRAGMA page_count", &pages, NULL, err);
	if (rc == ST_OK && version == VERSION_NOW && pages > CHECK_SOON)
		*unchecked = true;
	else if (rc == ST_OK)
		rc = schema_check(j, err);
	if (rc == ST_OK && version < VERSION_NOW)
		rc = bring_up(j, version, account, err);
	return rc == ST_OK ? check_account(j, account, false, err) : rc;
}
