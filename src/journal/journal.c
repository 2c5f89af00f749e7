/* journal.c: opening it, transactions, sinks and notes. */
#include <popferry/fault.h>
#include <popferry/fs.h>

#include "own.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "journal.sqlite"

enum { BUSY_MS = 10000, PAGE_MIN = 512 };

/*
 * SQLite counts its memory, with a lock around each allocation, for questions nobody
 * asks here. It must be told before anything of it is used.
 */
__attribute__((constructor)) static void count_no_memory(void)
{
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

/* ---- opening ---- */

/*
 * SQLite fills the last page up with zeros, and begins anew in a file of one byte.
 * Only a crash may leave half a page, and then there is a log with all of it.
 */
static bool is_torn(int dirfd, const struct stat *db)
{
	struct stat st;

	return db->st_size % PAGE_MIN &&
		(fstatat(dirfd, NAME "-wal", &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			st.st_size == 0) &&
		(fstatat(dirfd, NAME "-journal", &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			st.st_size == 0);
}

/*
 * Makes sure that there is a plain file to open. It is not opened here when it is
 * there: closing a second descriptor would drop SQLite's locks on it.
 */
static enum status check_file(int dirfd, bool read_only, struct err *err)
{
	struct stat st;
	int fd;

	if (fstatat(dirfd, NAME, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (S_ISREG(st.st_mode) && is_torn(dirfd, &st))
			return err_set(err, ST_FATAL, EX_DATAERR,
				"%s is damaged (it ends after %lld bytes, in the middle of a page): put a backup in its place",
				NAME, (long long)st.st_size);
		if (S_ISREG(st.st_mode))
			return ST_OK;
		return err_set(err, ST_FATAL, EX_CONFIG,
			"%s in the state directory is not a plain file: move it away",
			NAME);
	}
	if (errno != ENOENT)
		return err_sys(err, ST_FATAL, "%s", NAME);
	if (read_only)
		return ST_END;
	fd = openat(
		dirfd, NAME, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, ST_FATAL, "create %s", NAME);
	close(fd);
	fault_step("journal-made");
	return fs_sync_dir(dirfd, err);
}

/* Without /proc only the working directory tells where a descriptor is. */
static char *path_by_going_there(int dirfd)
{
	int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char *path = NULL;

	if (here < 0)
		return NULL;
	if (fchdir(dirfd) == 0) {
		path = getcwd(NULL, 0);
		if (fchdir(here) < 0) {
			free(path);
			path = NULL;
		}
	}
	close(here);
	return path;
}

static char *path_of(int dirfd)
{
	char link[64], path[4096];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd);
	n = readlink(link, path, sizeof(path));
	if (n > 0 && (size_t)n < sizeof(path) && path[0] == '/')
		return xmemdup0(path, (size_t)n);
	return path_by_going_there(dirfd);
}

/* SQLite takes a path: make one, and make sure that it leads to dirfd. */
static enum status find_path(struct journal *j, int dirfd, struct err *err)
{
	char *dir = path_of(dirfd);
	enum status rc = ST_OK;
	struct stat a, b;

	if (!dir || fstat(dirfd, &a) < 0 || stat(dir, &b) < 0 || a.st_dev != b.st_dev ||
		a.st_ino != b.st_ino)
		rc = err_set(err, ST_FATAL, EX_IOERR,
			"%s: the state directory cannot be found by its path (%s): was it moved or removed?",
			NAME, dir ? dir : "none");
	else
		j->path = xasprintf("%s/%s", dir, NAME);
	free(dir);
	return rc;
}

static enum status connect_to(struct journal *j, bool read_only, struct err *err)
{
	int how = read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
	int rc;

	rc = sqlite3_open_v2(j->path, &j->db,
		how | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_NOMUTEX |
			SQLITE_OPEN_PRIVATECACHE,
		NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_extended_result_codes(j->db, 1);
	if (rc == SQLITE_OK)
		rc = sqlite3_busy_timeout(j->db, BUSY_MS);
	if (rc == SQLITE_OK)
		rc = sqlite3_db_config(j->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_db_config(j->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	/* It would look for three rows at each place; row_known() looks for none. */
	if (rc == SQLITE_OK)
		rc = sqlite3_db_config(j->db, SQLITE_DBCONFIG_ENABLE_FKEY, 0, NULL);
	if (rc != SQLITE_OK)
		return journal_sql_error(j, rc, "open", err);
	return ST_OK;
}

static const char unchanged[] = "unchanged";

/* Gone before anything else is written: SQLite's log keeps the order. */
static enum status take_unchanged(struct journal *j, struct err *err)
{
	enum status rc = journal_noted(j, unchanged, &j->unchanged, err);

	if (rc == ST_END)
		return ST_OK;
	if (rc != ST_OK || j->read_only)
		return rc;
	rc = journal_begin_lazy(j, err);
	if (rc == ST_OK)
		rc = query_change(j, Q_NOTE_DROP, WITH(TEXT(unchanged)), NULL, err);
	return rc == ST_OK ? journal_commit(j, err) : rc;
}

static enum status open_it(struct journal **out, int dirfd, const char *account,
	bool read_only, bool *unchecked, struct err *err)
{
	struct journal *j = NULL;
	enum status rc = check_file(dirfd, read_only, err);

	if (rc != ST_OK)
		return rc;
	j = xcalloc(1, sizeof(*j));
	j->read_only = read_only;
	j->last = -1;
	rc = find_path(j, dirfd, err);
	if (rc == ST_OK)
		rc = connect_to(j, read_only, err);
	if (rc == ST_OK)
		rc = schema_open(j, account, read_only, unchecked, err);
	/* SQLite has made its log by now, and would not tell if its name were lost. */
	if (rc == ST_OK && !read_only)
		rc = fs_sync_dir(dirfd, err);
	if (rc != ST_OK)
		goto out;
	j->ready = true;
	rc = take_unchanged(j, err);
	if (rc != ST_OK)
		goto out;
	*out = j;
	j = NULL;
out:
	journal_close(&j);
	return rc;
}

enum status journal_open(struct journal **out, int dirfd, const char *account,
	bool read_only, struct err *err)
{
	return open_it(out, dirfd, account, read_only, NULL, err);
}

enum status journal_open_soon(struct journal **out, int dirfd, const char *account,
	bool *unchecked, struct err *err)
{
	*unchecked = false;
	return open_it(out, dirfd, account, false, unchecked, err);
}

enum status journal_check(int dirfd, struct err *err)
{
	struct journal *j = xcalloc(1, sizeof(*j));
	enum status rc = find_path(j, dirfd, err);

	if (rc == ST_OK)
		rc = connect_to(j, true, err);
	if (rc == ST_OK)
		rc = schema_check(j, err);
	journal_close(&j);
	return rc;
}

void journal_close(struct journal **jp)
{
	struct journal *j = *jp;
	size_t i;

	if (!j)
		return;
	for (i = 0; i < QUERIES; i++)
		sqlite3_finalize(j->stmt[i]);
	sqlite3_close(j->db);
	hint_forget(j);
	folder_forget(j);
	free(j->path);
	free(j->account);
	free(j->reason);
	free(j->unchanged);
	free(j);
	*jp = NULL;
}

const char *journal_account(const struct journal *j)
{
	return j->account;
}

/* ---- transactions ---- */

/* Sync each commit, or leave that to a later one. */
static enum status set_sync(struct journal *j, bool each, struct err *err)
{
	int rc = SQLITE_OK;

	if (j->lazy == !each)
		return ST_OK;
	rc = sqlite3_exec(j->db,
		each ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL",
		NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		return journal_sql_error(j, rc, "set its mode", err);
	j->lazy = !each;
	return ST_OK;
}

void journal_undo(struct journal *j)
{
	bool undone = !sqlite3_get_autocommit(j->db);

	/* SQLite has rolled back by itself after some errors. */
	if (undone)
		sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
	if (undone || j->open)
		folder_forget(j);
	j->open = j->broken = false;
	j->last = -1;
	streak_begin(j);
	set_sync(j, true, NULL);
}

/* What is remembered from transaction to transaction must be true still. */
static enum status recollect(struct journal *j, struct err *err)
{
	uint64_t rows;
	int64_t version;
	enum status rc = query_row(j, Q_VERSION, NOTHING, err);

	if (rc != ST_OK)
		return rc;
	version = col_int(j, Q_VERSION, 0);
	query_done(j, Q_VERSION);
	if (version != j->version) {
		hint_forget(j);
		folder_forget(j);
	}
	j->version = version;
	rc = journal_count(j, &rows, err);
	if (rc != ST_OK)
		return rc;
	j->last = j->before = (int64_t)rows;
	hint_begin(j, j->last);
	return ST_OK;
}

static enum status begin(struct journal *j, bool lazy, struct err *err)
{
	enum status rc;

	if (j->open && !j->broken)
		return journal_misuse(j, err, "a transaction inside of another");
	journal_undo(j);
	rc = set_sync(j, !lazy, err);
	if (rc == ST_OK)
		rc = query_change(j, Q_BEGIN, NOTHING, NULL, err);
	if (rc == ST_OK && j->ready)
		rc = recollect(j, err);
	j->open = rc == ST_OK;
	if (rc != ST_OK)
		journal_undo(j);
	return rc;
}

enum status journal_begin(struct journal *j, struct err *err)
{
	return begin(j, false, err);
}

enum status journal_begin_lazy(struct journal *j, struct err *err)
{
	return begin(j, true, err);
}

/* SQLite syncs no commit that writes nothing. */
static int pages_written(const struct journal *j)
{
	int n = 0, most;

	sqlite3_db_status(j->db, SQLITE_DBSTATUS_CACHE_WRITE, &n, &most, 0);
	return n;
}

enum status journal_commit(struct journal *j, struct err *err)
{
	int before = pages_written(j);
	bool lazy = j->lazy;
	enum status rc;

	if (!j->open)
		return journal_misuse(j, err, "a commit without a transaction");
	fault_step("journal-commit");
	rc = query_change(j, Q_COMMIT, NOTHING, NULL, err);
	if (rc == ST_OK)
		rc = set_sync(j, true, err);
	if (rc != ST_OK) {
		journal_undo(j);
		return rc;
	}
	if (pages_written(j) != before)
		j->owed = lazy;
	j->open = false;
	j->last = -1;
	streak_begin(j);
	fault_step("journal-committed");
	return ST_OK;
}

/* SQLite's log of the last commits: what a commit with a sync syncs. */
static sqlite3_file *log_of(struct journal *j)
{
	sqlite3_file *f = NULL;

	if (sqlite3_file_control(j->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &f) !=
		SQLITE_OK)
		return NULL;
	return f && f->pMethods ? f : NULL;
}

enum status journal_sync(struct journal *j, struct err *err)
{
	sqlite3_file *f;
	int rc;

	if (j->open)
		return journal_misuse(j, err, "a sync inside of a transaction");
	if (!j->owed)
		return ST_OK;
	f = log_of(j);
	rc = f ? f->pMethods->xSync(f, SQLITE_SYNC_NORMAL) : SQLITE_IOERR_FSYNC;
	if (rc != SQLITE_OK)
		return journal_sql_error(j, rc, "sync its log", err);
	j->owed = false;
	fault_step("journal-synced");
	return ST_OK;
}

enum status group_begin(struct journal *j, bool *mine, struct err *err)
{
	*mine = !j->open;
	return *mine ? journal_begin(j, err) : ST_OK;
}

enum status group_end(struct journal *j, bool mine, enum status rc, struct err *err)
{
	if (!mine)
		return rc;
	if (rc == ST_OK)
		return journal_commit(j, err);
	journal_undo(j);
	return rc;
}

/* ---- sinks ---- */

static enum status find_sink(
	struct journal *j, const char *identity, unsigned *sink, struct err *err)
{
	enum status rc = query_row(j, Q_SINK_FIND, WITH(TEXT(identity)), err);

	if (rc != ST_OK)
		return rc;
	*sink = (unsigned)col_int(j, Q_SINK_FIND, 0) & (JOURNAL_SINKS - 1);
	query_done(j, Q_SINK_FIND);
	return ST_OK;
}

static enum status make_sink(
	struct journal *j, const char *identity, unsigned *sink, struct err *err)
{
	enum status rc = query_row(j, Q_SINK_COUNT, NOTHING, err);
	int64_t n;

	if (rc != ST_OK)
		return rc;
	n = col_int(j, Q_SINK_COUNT, 0);
	query_done(j, Q_SINK_COUNT);
	if (n >= JOURNAL_SINKS)
		return err_set(err, ST_FATAL, EX_CONFIG,
			"%s knows %d destinations already and has no room for %s: name another state directory",
			j->path, (int)JOURNAL_SINKS, identity);
	*sink = (unsigned)n;
	return query_change(j, Q_SINK_MAKE, WITH(INT(n), TEXT(identity)), NULL, err);
}

enum status journal_sink(
	struct journal *j, const char *identity, unsigned *sink, struct err *err)
{
	enum status rc = find_sink(j, identity, sink, err);
	bool mine;

	if (rc != ST_END || j->read_only)
		return rc;
	rc = group_begin(j, &mine, err);
	if (rc != ST_OK)
		return rc;
	rc = make_sink(j, identity, sink, err);
	return group_end(j, mine, rc, err);
}

enum status journal_sinks(struct journal *j,
	void (*each)(void *ctx, unsigned sink, const char *identity), void *ctx,
	struct err *err)
{
	enum status rc = query_row(j, Q_SINKS, NOTHING, err);

	while (rc == ST_OK) {
		each(ctx, (unsigned)col_int(j, Q_SINKS, 0) & (JOURNAL_SINKS - 1),
			col_text(j, Q_SINKS, 1));
		rc = query_next(j, Q_SINKS, err);
	}
	return rc == ST_END ? ST_OK : rc;
}

enum status journal_settled(
	struct journal *j, unsigned sink, bool *out, struct err *err)
{
	enum status rc = query_row(j, Q_SETTLED, WITH(INT(sink)), err);

	if (rc == ST_END)
		return journal_misuse(j, err, "it knows no destination %u", sink);
	if (rc != ST_OK)
		return rc;
	*out = col_int(j, Q_SETTLED, 0) != 0;
	query_done(j, Q_SETTLED);
	return ST_OK;
}

enum status journal_settle(struct journal *j, unsigned sink, struct err *err)
{
	enum status rc;
	int rows;

	rc = query_change(j, Q_SETTLE, WITH(INT(sink)), &rows, err);
	if (rc == ST_OK && rows == 0)
		rc = journal_misuse(j, err, "it knows no destination %u", sink);
	return rc;
}

/* ---- notes ---- */

enum status journal_note(
	struct journal *j, const char *key, const char *value, struct err *err)
{
	return query_change(j, Q_NOTE, WITH(TEXT(key), TEXT(value)), NULL, err);
}

enum status journal_noted(
	struct journal *j, const char *key, char **value, struct err *err)
{
	enum status rc = query_row(j, Q_NOTED, WITH(TEXT(key)), err);

	if (rc != ST_OK)
		return rc;
	*value = xstrdup(col_text(j, Q_NOTED, 0));
	query_done(j, Q_NOTED);
	return ST_OK;
}

const char *journal_unchanged(const struct journal *j)
{
	return j->unchanged;
}

enum status journal_set_unchanged(struct journal *j, const char *seen, struct err *err)
{
	return journal_note(j, unchanged, seen, err);
}
