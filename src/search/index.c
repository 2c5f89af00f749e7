/* index.c: the database: opening it, throwing it away, statements. */
#include "own.h"

#include <popferry/fs.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { APPLICATION = 0x70664958, VERSION_NOW = 2, BUSY_MS = 20000 };

/* Two may make it at the same time. */
static const char schema[] =
	"PRAGMA application_id = 1885751640;"
	"PRAGMA user_version = 2;"
	"CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS shard(no INTEGER PRIMARY KEY);"
	"CREATE TABLE IF NOT EXISTS message(seq INTEGER PRIMARY KEY, size INT, date INT, zone INT,"
	" sha256 BLOB, msgid TEXT, folder INT, uidl TEXT, sender TEXT, rcpt TEXT, cc TEXT,"
	" subject TEXT, files INT);"
	"CREATE TABLE IF NOT EXISTS folder(id INTEGER PRIMARY KEY, name TEXT UNIQUE);"
	/* A condition that many messages meet must not read their rows: one index
	 * each. */
	"CREATE INDEX IF NOT EXISTS message_date ON message(date);"
	"CREATE INDEX IF NOT EXISTS message_size ON message(size);"
	"CREATE INDEX IF NOT EXISTS message_folder ON message(folder);"
	"CREATE INDEX IF NOT EXISTS message_files ON message(files) WHERE files > 0;"
	"CREATE INDEX IF NOT EXISTS message_sha256 ON message(sha256);"
	"CREATE INDEX IF NOT EXISTS message_msgid ON message(msgid);"
	"CREATE INDEX IF NOT EXISTS message_uidl ON message(uidl);"
	"CREATE TABLE IF NOT EXISTS file(seq INT, n INT, name TEXT, PRIMARY KEY(seq, n)) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS damaged(seq INTEGER PRIMARY KEY);";

static const struct {
	const char *text, *doing;
} sqls[SQLS] = {
	[SQL_META] = { "SELECT value FROM meta WHERE key = ?", "read" },
	[SQL_META_SET] = { "REPLACE INTO meta VALUES(?, ?)", "write" },
	[SQL_HAVE] = { "SELECT seq, sha256 FROM message ORDER BY seq", "read" },
	[SQL_COUNT] = { "SELECT count(*) FROM message", "read" },
	[SQL_DAMAGED_COUNT] = { "SELECT count(*) FROM damaged", "read" },
	[SQL_DAMAGED] = { "REPLACE INTO damaged VALUES(?)", "write" },
	[SQL_FOLDER] = { "INSERT OR IGNORE INTO folder(name) VALUES(?)", "write" },
	[SQL_MESSAGE] = { "INSERT INTO message VALUES(?,?,?,?,?,?,"
			  "(SELECT id FROM folder WHERE name = ?),?,?,?,?,?,?)",
		"write" },
	[SQL_FILE] = { "INSERT INTO file VALUES(?, ?, ?)", "write" },
	[SQL_SHARDS] = { "SELECT no FROM shard ORDER BY no", "read" },
	[SQL_SHARD_MAKE] = { "INSERT OR IGNORE INTO shard VALUES(?)", "write" },
	[SQL_GET] = { "SELECT size, date, zone, sha256,"
		      " (SELECT name FROM folder WHERE id = message.folder), uidl, sender,"
		      " rcpt, cc, subject, msgid, files FROM message WHERE seq = ?",
		"read" },
	[SQL_TOP] = { "SELECT max(seq) FROM message", "read" },
	[SQL_DATE] = { "SELECT date FROM message WHERE seq = ?", "read" },
	[SQL_BY_DATE] = { "SELECT seq FROM message ORDER BY date DESC, seq DESC",
		"read" },
};

void search_say(struct search *s, const char *what)
{
	if (s->how.say)
		s->how.say(s->how.ctx, what);
}

/* ---- statements ---- */

enum status sql_failed(struct search *s, int rc, const char *doing, struct err *err)
{
	static const struct {
		int code, exit;
		enum status status;
	} causes[] = {
		{ SQLITE_CORRUPT, EX_DATAERR, ST_DENIED },
		{ SQLITE_NOTADB, EX_DATAERR, ST_DENIED },
		{ SQLITE_ERROR, EX_DATAERR, ST_DENIED }, /* a table is not there */
		{ SQLITE_FULL, EX_IOERR, ST_FATAL },
		{ SQLITE_IOERR, EX_IOERR, ST_FATAL },
		{ SQLITE_CANTOPEN, EX_CANTCREAT, ST_FATAL },
		{ SQLITE_READONLY, EX_CANTCREAT, ST_FATAL },
		{ SQLITE_BUSY, EX_TEMPFAIL, ST_RETRY },
		{ SQLITE_LOCKED, EX_TEMPFAIL, ST_RETRY },
	};
	size_t i;

	if ((rc & 0xff) == SQLITE_NOMEM)
		xmemory_gone();
	for (i = 0; i < N_ELEMENTS(causes) - 1; i++)
		if (causes[i].code == (rc & 0xff))
			break;
	if (causes[i].exit == EX_DATAERR)
		s->bad = true;
	return err_set(err, causes[i].status, causes[i].exit,
		"the index of %s: cannot %s: %s", s->path, doing,
		s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc));
}

enum status sql_run(struct search *s, const char *text, struct err *err)
{
	int rc = sqlite3_exec(s->db, text, NULL, NULL, NULL);

	return rc == SQLITE_OK ? ST_OK : sql_failed(s, rc, "write", err);
}

sqlite3_stmt *sql_get(struct search *s, enum sql which, struct err *err)
{
	int rc;

	if (!s->stmt[which]) {
		rc = sqlite3_prepare_v3(s->db, sqls[which].text, -1,
			SQLITE_PREPARE_PERSISTENT, &s->stmt[which], NULL);
		if (rc != SQLITE_OK) {
			sql_failed(s, rc, sqls[which].doing, err);
			return NULL;
		}
	}
	return s->stmt[which];
}

enum status sql_step(struct search *s, sqlite3_stmt *st, struct err *err)
{
	int rc = sqlite3_step(st);
	enum status status = ST_END;

	if (rc == SQLITE_ROW)
		return ST_OK;
	if (rc != SQLITE_DONE)
		status = sql_failed(
			s, rc, sqlite3_stmt_readonly(st) ? "read" : "write", err);
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return status;
}

/* ---- the file ---- */

static char *file_path(const struct search *s, const char *suffix)
{
	return xasprintf("%s/index/" CATALOG "%s", s->path, suffix);
}

static void like_glob(sqlite3_context *c, int n, sqlite3_value **v)
{
	const char *pattern = (const char *)sqlite3_value_text(v[0]);
	const char *text = (const char *)sqlite3_value_text(v[1]);

	(void)n;
	sqlite3_result_int(c,
		pattern && text &&
			text_glob(pattern, text, (size_t)sqlite3_value_bytes(v[1])));
}

/* Its argument goes to s->into; what is over the highest number there is cannot be. */
static void collect_one(sqlite3_context *c, int n, sqlite3_value **v)
{
	struct search *s = sqlite3_user_data(c);

	(void)n;
	if (!set_add(s->into, sqlite3_value_int64(v[0])))
		s->bad = true;
}

static void collect_end(sqlite3_context *c)
{
	sqlite3_result_null(c);
}

static enum status connect_to(
	struct search *s, const char *path, int flags, struct err *err)
{
	int rc = sqlite3_open_v2(path, &s->db,
		flags | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_NOMUTEX |
			SQLITE_OPEN_PRIVATECACHE,
		NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_busy_timeout(s->db, BUSY_MS);
	if (rc == SQLITE_OK)
		rc = sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_create_function(s->db, "like_glob", 2,
			SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS, NULL,
			like_glob, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_create_function(s->db, "collect", 1,
			SQLITE_UTF8 | SQLITE_DIRECTONLY, s, NULL, collect_one,
			collect_end);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(s->db,
			s->how.in_memory
				? "PRAGMA temp_store = MEMORY"
				: "PRAGMA cache_size = -16384; PRAGMA temp_store = FILE;"
				  "PRAGMA synchronous = NORMAL",
			NULL, NULL, NULL);
	return rc == SQLITE_OK ? ST_OK : sql_failed(s, rc, "open", err);
}

void index_close(struct search *s)
{
	size_t i;

	for (i = 0; i < SQLS; i++) {
		sqlite3_finalize(s->stmt[i]);
		s->stmt[i] = NULL;
	}
	sqlite3_finalize(s->put);
	s->put = NULL;
	sqlite3_close(s->db);
	s->db = NULL;
}

static enum status pragma(
	struct search *s, const char *text, int64_t *out, struct err *err)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(s->db, text, -1, &st, NULL);

	*out = 0;
	if (rc == SQLITE_OK) {
		rc = sqlite3_step(st);
		if (rc == SQLITE_ROW)
			*out = sqlite3_column_int64(st, 0);
		rc = sqlite3_finalize(st);
	}
	return rc == SQLITE_OK ? ST_OK : sql_failed(s, rc, "read", err);
}

static enum status fill(struct search *s, struct err *err)
{
	sqlite3_stmt *st;
	enum status rc = sql_run(s, "BEGIN IMMEDIATE", err);

	if (rc == ST_OK)
		rc = sql_run(s, schema, err);
	st = rc == ST_OK ? sql_get(s, SQL_META_SET, err) : NULL;
	if (!st)
		return rc == ST_OK ? ST_FATAL : rc;
	sqlite3_bind_text(st, 1, "archive", -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, archive_read_id(s->r), -1, SQLITE_TRANSIENT);
	rc = sql_step(s, st, err);
	return rc == ST_END ? sql_run(s, "COMMIT", err) : rc;
}

/* Why it cannot be used, or NULL; *empty: nothing has been made of it yet. */
static const char *unfit(struct search *s, bool *empty)
{
	const char *why = NULL, *id;
	struct err err = ERR_INIT;
	int64_t app, version, tables;
	sqlite3_stmt *st;
	size_t i;

	*empty = false;
	if (pragma(s, "PRAGMA application_id", &app, &err) != ST_OK ||
		pragma(s, "PRAGMA user_version", &version, &err) != ST_OK ||
		pragma(s, "SELECT count(*) FROM sqlite_master", &tables, &err) != ST_OK)
		return "it is damaged";
	*empty = app == 0 && version == 0 && tables == 0;
	if (*empty)
		return NULL;
	if (app != APPLICATION)
		return "it is none of popferry's";
	if (version != VERSION_NOW)
		return "it is of another version of popferry";
	for (i = 0; i < SQLS; i++)
		if (!sql_get(s, (enum sql)i, &err))
			return "it is damaged";
	st = sql_get(s, SQL_META, &err);
	sqlite3_bind_text(st, 1, "archive", -1, SQLITE_STATIC);
	if (sql_step(s, st, &err) != ST_OK)
		return "it is damaged";
	id = (const char *)sqlite3_column_text(st, 0);
	if (!id || strcmp(id, archive_read_id(s->r)) != 0)
		why = "it is of another archive";
	sqlite3_reset(st);
	return why;
}

static enum status open_temporary(struct search *s, struct err *err)
{
	/* One without a name goes to a file when it is large. */
	const char *name = s->how.in_memory ? ":memory:" : "";
	enum status rc;

	index_close(s);
	s->temporary = true;
	s->read_only = false;
	rc = connect_to(s, name, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, err);
	if (rc == ST_OK)
		rc = sql_run(
			s, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF", err);
	return rc == ST_OK ? fill(s, err) : rc;
}

static void remove_files(struct search *s)
{
	static const char *const suffixes[] = { "", "-journal", "-wal", "-shm" };
	size_t i;

	for (i = 0; i < N_ELEMENTS(suffixes); i++) {
		char *path = file_path(s, suffixes[i]);

		unlink(path);
		free(path);
	}
}

/* A folder of our own, and a plain file that can be written: ST_END when not here. */
static enum status make_room(struct search *s, struct err *err)
{
	char *dir = xasprintf("%s/index", s->path), *path = file_path(s, "");
	enum status rc = ST_OK;
	struct stat st;
	int fd;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		rc = ST_END;
	if (rc == ST_OK && (lstat(dir, &st) < 0 || !S_ISDIR(st.st_mode)))
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"%s is not a folder: move it away", dir);
	if (rc == ST_OK && access(dir, W_OK) < 0)
		rc = ST_END;
	if (rc == ST_OK && lstat(path, &st) == 0 && !S_ISREG(st.st_mode))
		rc = err_set(err, ST_DENIED, EX_DATAERR,
			"%s is not a plain file: move it away", path);
	if (rc == ST_OK) {
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0)
			rc = ST_END;
		else
			close(fd);
	}
	free(dir);
	free(path);
	return rc;
}

static enum status open_writable(struct search *s, struct err *err)
{
	char *path = file_path(s, "");
	const char *why;
	bool empty;
	enum status rc = connect_to(s, path, SQLITE_OPEN_READWRITE, err);

	free(path);
	if (rc != ST_OK && !s->bad)
		return rc;
	why = rc == ST_OK ? unfit(s, &empty) : "it is damaged";
	if (!why && empty && !s->bad)
		return fill(s, err);
	return why || s->bad ? index_remake(s, why ? why : "it is damaged", err)
			     : ST_OK;
}

enum status index_remake(struct search *s, const char *why, struct err *err)
{
	char *text, *path;
	enum status rc;

	if (s->remade)
		return err_set(err, ST_FATAL, EX_SOFTWARE,
			"the index of %s was made anew, and makes no sense again",
			s->path);
	s->remade = s->changed = true;
	s->bad = false;
	index_close(s);
	if (why) {
		text = xasprintf(
			"the index was thrown away, since %s, and is made anew", why);
		search_say(s, text);
		free(text);
	}
	if (s->temporary)
		return open_temporary(s, err);
	remove_files(s);
	rc = make_room(s, err);
	if (rc != ST_OK)
		return rc == ST_END ? open_temporary(s, err) : rc;
	path = file_path(s, "");
	rc = connect_to(s, path, SQLITE_OPEN_READWRITE, err);
	free(path);
	return rc == ST_OK ? fill(s, err) : rc;
}

/* What somebody else made, if it is good. */
static enum status open_read_only(struct search *s, struct err *err)
{
	char *path = file_path(s, "");
	struct err why = ERR_INIT;
	bool empty = true;
	enum status rc = connect_to(s, path, SQLITE_OPEN_READONLY, &why);

	free(path);
	if (rc == ST_OK && !unfit(s, &empty) && !empty) {
		s->read_only = true;
		return ST_OK;
	}
	s->bad = false;
	return open_temporary(s, err);
}

/* In memory: what this reader has kept, if it is good, or an empty one. */
static enum status open_kept(struct search *s, struct err *err)
{
	struct err why = ERR_INIT;
	const char *unfit_for = NULL;
	bool empty;
	enum status rc = open_temporary(s, err), loaded;

	if (rc != ST_OK || s->how.rebuild)
		return rc;
	loaded = kept_load(s, &why);
	if (loaded == ST_OK)
		unfit_for = unfit(s, &empty);
	else if (loaded != ST_END)
		unfit_for = why.text;
	return unfit_for ? index_remake(s, unfit_for, err) : ST_OK;
}

enum status index_open(struct search *s, struct err *err)
{
	enum status rc;

	if (s->how.in_memory)
		return open_kept(s, err);
	rc = make_room(s, err);
	if (rc == ST_END)
		return s->how.rebuild ? open_temporary(s, err) : open_read_only(s, err);
	if (rc == ST_OK)
		rc = s->how.rebuild ? index_remake(s, NULL, err)
				    : open_writable(s, err);
	return rc;
}

/* ---- ranges ---- */

enum status index_shard(struct search *s, unsigned shard, struct err *err)
{
	sqlite3_stmt *st = sql_get(s, SQL_SHARD_MAKE, err);
	char text[320];
	enum status rc;
	int is;

	if (s->put && s->put_shard == shard)
		return ST_OK;
	if (!st)
		return err->status;
	sqlite3_bind_int64(st, 1, shard);
	rc = sql_step(s, st, err);
	if (rc != ST_END)
		return rc;
	snprintf(text, sizeof(text),
		"CREATE VIRTUAL TABLE IF NOT EXISTS fts_%u USING fts5(subject, sender, rcpt, cc,"
		" bcc, body, files, content='', tokenize='unicode61 remove_diacritics 2')",
		shard);
	rc = sql_run(s, text, err);
	if (rc != ST_OK)
		return rc;
	sqlite3_finalize(s->put);
	s->put = NULL;
	snprintf(text, sizeof(text),
		"INSERT INTO fts_%u(rowid, subject, sender, rcpt, cc, bcc, body, files)"
		" VALUES(?,?,?,?,?,?,?,?)",
		shard);
	is = sqlite3_prepare_v3(
		s->db, text, -1, SQLITE_PREPARE_PERSISTENT, &s->put, NULL);
	if (is != SQLITE_OK)
		return sql_failed(s, is, "write", err);
	s->put_shard = shard;
	return ST_OK;
}

enum status index_drop(struct search *s, unsigned shard, struct err *err)
{
	uint64_t first = (uint64_t)shard * SHARD, last = first + SHARD - 1;
	char *text = xasprintf(
		"DROP TABLE IF EXISTS fts_%u;"
		"DELETE FROM shard WHERE no = %u;"
		"DELETE FROM message WHERE seq BETWEEN %" PRIu64 " AND %" PRIu64 ";"
		"DELETE FROM file WHERE seq BETWEEN %" PRIu64 " AND %" PRIu64,
		shard, shard, first, last, first, last);
	enum status rc;

	sqlite3_finalize(s->put);
	s->put = NULL;
	rc = sql_run(s, text, err);
	free(text);
	return rc;
}
