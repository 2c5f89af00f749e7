/* t_journal.c: opening the journal, and what it keeps. */
#include "journal_kit.h"

#include <sys/stat.h>

#include <sqlite3.h>

/* ---- opening ---- */

static void test_open(void **state)
{
	struct journal *j = open_it(), *other = NULL;
	struct stat st;

	(void)state;
	assert_string_equal(journal_account(j), ACCOUNT);
	assert_int_equal(stat(in_dir(DB), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	reopen(&j);
	assert_string_equal(journal_account(j), ACCOUNT);
	journal_close(&j);
	journal_close(&j);

	/* Nothing of it is here yet: another may have it, and it is theirs then. */
	OK(journal_open(&j, dirfd_, "pop3s://bob@b", true, &err));
	journal_close(&j);
	OK(journal_open(&j, dirfd_, NULL, true, &err));
	assert_string_equal(journal_account(j), ACCOUNT);
	journal_close(&j);
	OK(journal_open(&j, dirfd_, "pop3s://bob@b", false, &err));
	assert_string_equal(journal_account(j), "pop3s://bob@b");
	journal_close(&j);
	j = open_it();
	take(j, "a", 1);
	journal_close(&j);

	assert_int_equal(
		journal_open(&other, dirfd_, "pop3s://bob@b", false, &err), ST_FATAL);
	assert_int_equal(err.exit, EX_CONFIG);
	assert_non_null(strstr(err.text, "alice"));
	assert_non_null(strstr(err.text, "bob"));
	assert_null(other);
	assert_int_equal(
		journal_open(&other, dirfd_, "pop3s://bob@b", true, &err), ST_FATAL);
	assert_int_equal(err.exit, EX_CONFIG);
}

static void test_open_read_only(void **state)
{
	struct journal *w, *r = NULL;
	struct stat st;
	pid_t pid;
	int status;

	(void)state;
	assert_int_equal(journal_open(&r, dirfd_, NULL, true, &err), ST_END);
	assert_int_equal(stat(in_dir(DB), &st), -1);

	w = open_it();
	take(w, "a", 1);
	OK(journal_begin(w, &err));
	take(w, "b", 2);
	pid = fork();
	if (pid == 0) { /* beside the writer, in its transaction */
		struct journal_totals t = { 0 };
		struct journal_row row;
		struct journal_key k = key_of("c", 0, 1);
		struct facts f = facts_of(3);
		int64_t id;

		if (journal_open(&r, dirfd_, NULL, true, &err) != ST_OK)
			_exit(1);
		if (journal_totals(r, &t, &err) != ST_OK || t.messages != 1)
			_exit(2);
		if (journal_find(r, "b", 1, 0, &row, &err) != ST_END)
			_exit(3);
		if (journal_take(r, &k, &f, 0, &id, &err) != ST_FATAL)
			_exit(4);
		journal_close(&r);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	OK(journal_commit(w, &err));
	journal_close(&w);

	/* No writer: the reader leaves nothing new behind. */
	OK(journal_open(&r, dirfd_, ACCOUNT, true, &err));
	assert_int_equal(totals(r).messages, 2);
	assert_string_equal(journal_account(r), ACCOUNT);
	journal_close(&r);
}

/* A file that is only there because a first run died at once. */
static void test_open_unfinished(void **state)
{
	struct journal *j = NULL;
	int fd = open(in_dir(DB), O_CREAT | O_WRONLY, 0600);

	(void)state;
	close(fd);
	assert_int_equal(journal_open(&j, dirfd_, NULL, true, &err), ST_END);
	j = open_it();
	journal_close(&j);
}

static void sql(const char *text)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(in_dir(DB), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void test_open_refused(void **state)
{
	static const struct {
		const char *name, *sql, *says;
		bool fresh; /* not a journal before */
		int exit;
	} rows[] = {
		{ "newer", "PRAGMA user_version = 99", "newer popferry", false,
			EX_CONFIG },
		{ "version 0", "PRAGMA user_version = 0", "damaged", false,
			EX_DATAERR },
		{ "negative version", "PRAGMA user_version = -1", "damaged", false,
			EX_DATAERR },
		{ "other id", "PRAGMA application_id = 5", "another program", false,
			EX_DATAERR },
		{ "no account", "DELETE FROM about", "no account", false, EX_DATAERR },
		{ "no tables", "DROP TABLE about", "no such table", false, EX_DATAERR },
		{ "other's tables", "CREATE TABLE x (y)", "another program", true,
			EX_DATAERR },
		{ "other's version", "PRAGMA user_version = 3", "another program", true,
			EX_DATAERR },
	};
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		struct journal *j = NULL;
		int read_only;

		wipe();
		if (!rows[i].fresh) {
			j = open_it();
			journal_close(&j);
		}
		sql(rows[i].sql);
		for (read_only = 0; read_only < 2; read_only++) {
			err.text[0] = '\0';
			if (journal_open(&j, dirfd_, ACCOUNT, read_only, &err) !=
					ST_FATAL ||
				err.exit != rows[i].exit ||
				!strstr(err.text, rows[i].says) ||
				!strstr(err.text, dir))
				fail_msg("%s: %d %s", rows[i].name, err.exit, err.text);
			assert_null(j);
		}
	}
}

/* What no popferry wrote is not read as if one had. */
static void test_damaged_rows(void **state)
{
	static const char *const harm[] = {
		"UPDATE message SET sha256 = x'00'",
		"UPDATE message SET ident = NULL",
		"UPDATE message SET body = zeroblob(33)",
		"PRAGMA ignore_check_constraints = 1; UPDATE message SET state = 9",
		"PRAGMA ignore_check_constraints = 1; UPDATE message SET state = 0",
	};
	struct journal_row r;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(harm); i++) {
		struct journal *j;

		wipe();
		j = open_it();
		take(j, "a", 1);
		journal_close(&j);
		sql(harm[i]);
		OK(journal_open(&j, dirfd_, ACCOUNT, true, &err));
		assert_int_equal(journal_find(j, "a", 1, 0, &r, &err), ST_FATAL);
		assert_int_equal(err.exit, EX_DATAERR);
		journal_close(&j);
	}
}

static void test_open_not_a_file(void **state)
{
	static const char *const kinds[] = { "symlink", "dangling", "directory",
		"fifo" };
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(kinds); i++) {
		struct journal *j = NULL;
		int fd = open(in_dir("other"), O_CREAT | O_WRONLY, 0600);

		close(fd);
		if (i == 1)
			unlink(in_dir("other"));
		if (i < 2)
			assert_int_equal(symlink("other", in_dir(DB)), 0);
		else if (i == 2)
			assert_int_equal(mkdir(in_dir(DB), 0700), 0);
		else
			assert_int_equal(mkfifo(in_dir(DB), 0600), 0);
		assert_int_equal(
			journal_open(&j, dirfd_, ACCOUNT, false, &err), ST_FATAL);
		assert_int_equal(err.exit, EX_CONFIG);
		assert_int_equal(
			journal_open(&j, dirfd_, ACCOUNT, true, &err), ST_FATAL);
		assert_null(j);
		if (i == 2)
			rmdir(in_dir(DB));
		wipe();
	}
}

static void open_without_proc(void)
{
	struct journal *j = NULL;

	NEED(77, chroot(dir) == 0);
	NEED(1, journal_open(&j, dirfd_, ACCOUNT, false, &err) == ST_OK);
	journal_close(&j);
	NEED(2, access("/" DB, F_OK) == 0);
}

static void test_open_without_proc(void **state)
{
	int rc;

	(void)state;
	if (geteuid() != 0)
		skip();
	rc = exit_of_child(open_without_proc);
	assert_int_equal(rc, 0);
	assert_int_equal(access(in_dir(DB), F_OK), 0);
}

static void test_open_removed_directory(void **state)
{
	struct journal *j = NULL;
	char gone[300];
	int fd;

	(void)state;
	snprintf(gone, sizeof(gone), "%s/gone", dir);
	assert_int_equal(mkdir(gone, 0700), 0);
	fd = open(gone, O_RDONLY | O_DIRECTORY);
	assert_int_equal(rmdir(gone), 0);
	assert_int_equal(journal_open(&j, fd, ACCOUNT, false, &err), ST_FATAL);
	assert_true(strlen(err.text) > 0);
	assert_null(j);
	close(fd);
}

/* ---- sinks and notes ---- */

static void test_sinks(void **state)
{
	struct journal *j = open_it();
	char name[32];
	unsigned k, i;
	bool yes;

	(void)state;
	for (i = 0; i < JOURNAL_SINKS; i++) {
		snprintf(name, sizeof(name), "imap://%u", i);
		assert_int_equal(sink(j, name), i);
	}
	reopen(&j);
	assert_int_equal(sink(j, "imap://5"), 5);
	assert_int_equal(journal_sink(j, "one too many", &k, &err), ST_FATAL);
	assert_int_equal(err.exit, EX_CONFIG);
	OK(journal_settled(j, 5, &yes, &err));
	assert_false(yes);
	OK(journal_settle(j, 5, &err));
	reopen(&j);
	OK(journal_settled(j, 5, &yes, &err));
	assert_true(yes);
	OK(journal_settled(j, 4, &yes, &err));
	assert_false(yes);
	journal_close(&j);
	wipe();
	j = open_it();
	assert_int_equal(journal_settled(j, 0, &yes, &err), ST_FATAL);
	assert_int_equal(err.exit, EX_SOFTWARE);
	assert_int_equal(journal_settle(j, 0, &err), ST_FATAL);
	journal_close(&j);
}

static void test_notes(void **state)
{
	struct journal *j = open_it();
	char *v = NULL;

	(void)state;
	assert_int_equal(journal_noted(j, "pipelining", &v, &err), ST_END);
	OK(journal_note(j, "pipelining", "no", &err));
	OK(journal_note(j, "pipelining", "yes", &err));
	OK(journal_note(j, "empty", "", &err));
	reopen(&j);
	OK(journal_noted(j, "pipelining", &v, &err));
	assert_string_equal(v, "yes");
	free(v);
	OK(journal_noted(j, "empty", &v, &err));
	assert_string_equal(v, "");
	free(v);
	journal_close(&j);
}

/* ---- messages ---- */

static void test_take(void **state)
{
	struct journal *j = open_it();
	struct facts f = facts_of(1);
	struct journal_row r;
	int64_t id = take(j, "uid 1", 1);

	(void)state;
	reopen(&j);
	r = row_of(j, "uid 1");
	assert_int_equal(r.id, id);
	assert_int_equal(r.state, J_TAKEN);
	assert_int_equal(r.of, 0);
	assert_true(r.has_content);
	assert_int_equal(r.size, 1001);
	assert_int_equal(r.listed_size, 1001);
	assert_int_equal(r.date, 1700000001);
	assert_memory_equal(r.sha256, f.sha256, DIGEST);
	assert_memory_equal(r.exact, f.exact, DIGEST);
	assert_memory_equal(r.body, f.body, DIGEST);
	assert_memory_equal(r.ident, f.ident, DIGEST);
	assert_true(r.has_msgid);
	assert_memory_equal(r.msgid, f.msgid, DIGEST);
	assert_int_equal(r.stored | r.storing, 0);
	assert_int_equal(r.tries, 0);
	assert_int_equal(take(j, "uid 1", 1), id);
	OK(journal_resize(j, id, 77, &err));
	assert_int_equal(get(j, id).listed_size, 77);
	OK(journal_resize(j, id, UINT64_MAX, &err));
	assert_true(get(j, id).listed_size == UINT64_MAX);
	assert_int_equal(journal_get(j, 4711, &r, &err), ST_END);
	assert_int_equal(journal_resize(j, 4711, 1, &err), ST_FATAL);
	assert_int_equal(err.exit, EX_SOFTWARE);
	journal_close(&j);
}

/* A UIDL is bytes: each of these is another one. */
static void test_keys(void **state)
{
	static const struct {
		const char *uidl;
		size_t n;
		uint32_t occurrence;
	} keys[] = {
		{ "a", 1, 0 },
		{ "a", 1, 1 },
		{ "a", 1, UINT32_MAX },
		{ "A", 1, 0 },
		{ "a ", 2, 0 },
		{ "a\0", 2, 0 },
		{ "a\0b", 3, 0 },
		{ "", 0, 0 },
		{ "\xff\xfe", 2, 0 },
		{ "1", 1, 0 },
		{ "01", 2, 0 },
		{ "x'61'", 5, 0 },
		{ "'; DROP TABLE message; --", 25, 0 },
	};
	struct journal *j = open_it();
	int64_t id[N_ELEMENTS(keys)];
	struct journal_row r;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(keys); i++) {
		struct journal_key k = { keys[i].uidl, keys[i].n, keys[i].occurrence,
			UINT64_MAX, 0 };
		struct facts f = facts_of((uint32_t)i);

		assert_int_equal(journal_find(j, keys[i].uidl, keys[i].n,
					 keys[i].occurrence, &r, &err),
			ST_END);
		OK(journal_take(j, &k, &f, 0, &id[i], &err));
	}
	reopen(&j);
	for (i = 0; i < N_ELEMENTS(keys); i++) {
		OK(journal_find(
			j, keys[i].uidl, keys[i].n, keys[i].occurrence, &r, &err));
		assert_int_equal(r.id, id[i]);
		assert_true(r.listed_size == UINT64_MAX);
		assert_int_equal(r.size, 1000 + i);
	}
	journal_close(&j);
}

static void test_reused_uidl(void **state)
{
	struct journal *j = open_it();
	int64_t a, b, c;
	unsigned k = sink(j, "imap://a");
	struct facts f;
	struct journal_key key = key_of("u", 0, 5);

	(void)state;
	a = take(j, "u", 1);
	store(j, a, k, 10);
	b = take(j, "u", 2);
	assert_int_not_equal(a, b);
	reopen(&j);
	assert_int_equal(row_of(j, "u").id, b);
	assert_int_equal(row_of(j, "u").stored, 0);
	assert_int_equal(get(j, a).stored, 1);
	assert_int_equal(get(j, a).state, J_TAKEN);
	store(j, b, k, 11);
	/* The first message is there again: its old row is history. */
	c = take(j, "u", 1);
	assert_int_not_equal(c, a);
	assert_int_equal(get(j, c).stored, 0);
	assert_int_equal(take(j, "u", 1), c);
	assert_int_equal(totals(j).messages, 3);
	b = take(j, "u", 2);
	store(j, b, k, 12);

	/* The same but for what the server put into the header: the same. */
	f = facts_of(2);
	f.sha256[0] ^= 1;
	OK(journal_take(j, &key, &f, 0, &c, &err));
	assert_int_equal(c, b);
	assert_int_not_equal(get(j, b).sha256[0], f.sha256[0]); /* it is stored so */
	f = facts_of(9);
	OK(journal_take(j, &key, &f, 0, &a, &err));
	f.sha256[0] ^= 1;
	OK(journal_take(j, &key, &f, 0, &b, &err));
	assert_int_equal(a, b);
	assert_int_equal(get(j, b).sha256[0], f.sha256[0]); /* nobody has it yet */
	journal_close(&j);
}

static void test_without_uidl(void **state)
{
	struct journal *j = open_it();
	unsigned k = sink(j, "imap://a");
	struct journal_row r;
	struct journal_key key = key_of(NULL, 0, 1);
	struct place floor = { 7, 1 };
	struct err why = ERR_INIT;
	struct facts f = facts_of(1);
	int64_t a, b, c;

	(void)state;
	a = take(j, NULL, 1);
	b = take(j, NULL, 1);
	assert_int_not_equal(a, b);
	c = take(j, NULL, 2);
	take(j, "named", 1);
	reopen(&j);
	OK(journal_find_content(j, f.sha256, 0, &r, &err));
	assert_int_equal(r.id, a);
	OK(journal_find_content(j, f.sha256, a, &r, &err));
	assert_int_equal(r.id, b);
	assert_int_equal(journal_find_content(j, f.sha256, b, &r, &err), ST_END);
	f = facts_of(2);
	OK(journal_find_content(j, f.sha256, 0, &r, &err));
	assert_int_equal(r.id, c);
	/* Eight equal bytes are not a digest. */
	f.sha256[8] ^= 1;
	assert_int_equal(journal_find_content(j, f.sha256, 0, &r, &err), ST_END);

	/* Its row says which of two equal messages fails, and is taken after all. */
	store(j, a, k, 1);
	f = facts_of(1);
	key.row = b;
	OK(journal_failed(j, &key, 1, &f, "store", &why, &err));
	assert_int_equal(get(j, a).state, J_TAKEN);
	assert_int_equal(get(j, b).state, J_FAILED);
	assert_int_equal(totals(j).messages, 4);
	OK(journal_take(j, &key, &f, 0, &c, &err));
	assert_int_equal(c, b);
	assert_int_equal(get(j, b).state, J_TAKEN);
	/* One in doubt is taken up again with its place. */
	OK(journal_storing(j, b, k, "INBOX", &floor, 1, &err));
	reopen(&j);
	OK(journal_take(j, &key, &f, 0, &c, &err));
	assert_int_equal(c, b);
	assert_int_equal(get(j, b).storing, 1);
	/* A third that fails at once has no row yet. */
	failed(j, NULL, &f);
	assert_int_equal(totals(j).failed, 1);
	OK(journal_find_content(j, f.sha256, b, &r, &err));
	assert_int_equal(r.state, J_FAILED);
	key.row = r.id;
	OK(journal_take(j, &key, &f, 0, &c, &err));
	assert_int_equal(c, r.id);
	assert_int_equal(totals(j).failed, 0);
	journal_close(&j);
}

static void test_failed_then_taken(void **state)
{
	struct journal *j = open_it();
	struct facts f = facts_of(1);
	struct journal_row r;
	int64_t id, run;

	(void)state;
	OK(journal_run_begin(j, 100, &run, &err));
	failed(j, "u", NULL);
	reopen(&j);
	r = row_of(j, "u");
	id = r.id;
	assert_int_equal(r.state, J_FAILED);
	assert_false(r.has_content);
	assert_false(r.has_msgid);
	assert_true(r.listed_size == UINT64_MAX);
	assert_int_equal(r.tries, 1);
	assert_int_equal(totals(j).failed, 1);

	failed(j, "u", &f);
	r = row_of(j, "u");
	assert_int_equal(r.id, id);
	assert_true(r.has_content);
	assert_int_equal(r.listed_size, 1001);
	assert_int_equal(r.tries, 2);

	assert_int_equal(take(j, "u", 1), id);
	reopen(&j);
	r = row_of(j, "u");
	assert_int_equal(r.state, J_TAKEN);
	assert_true(r.has_content);
	assert_int_equal(r.date, 1700000001);
	assert_int_equal(r.tries, 2);
	assert_int_equal(totals(j).failed, 0);
	journal_close(&j);
}

/* A message that is stored fails for its UIDL's sake, and is not forgotten. */
static void test_failed_keeps_places(void **state)
{
	struct journal *j = open_it();
	unsigned k = sink(j, "imap://a");
	int64_t a = take(j, "u", 1), b, d;

	(void)state;
	store(j, a, k, 1);
	failed(j, "u", NULL);
	assert_int_equal(get(j, a).state, J_FAILED);
	assert_int_equal(get(j, a).stored, 1);
	b = take(j, "u", 2);
	assert_int_not_equal(a, b);
	assert_int_equal(get(j, a).state, J_TAKEN);
	assert_int_equal(get(j, a).stored, 1);

	d = take(j, "v", 3);
	OK(journal_duplicate(j, d, a, "exact", &err));
	failed(j, "v", NULL);
	assert_int_equal(get(j, d).state, J_FAILED);
	assert_int_equal(get(j, d).of, 0);
	take(j, "v", 4);
	assert_int_equal(get(j, d).state, J_DUPLICATE);
	assert_int_equal(get(j, d).of, a);

	/* One that nobody has and whose UIDL now names another is over. */
	take(j, "w", 5);
	failed(j, "w", NULL);
	assert_int_equal(totals(j).failed, 1);
	take(j, "w", 6);
	assert_int_equal(totals(j).failed, 0);
	assert_int_equal(totals(j).messages, 5);
	journal_close(&j);
}

static void test_filtered_then_taken(void **state)
{
	struct journal *j = open_it();
	int64_t id = take(j, "u", 1);

	(void)state;
	OK(journal_filtered(j, id, "max-size\n", &err));
	reopen(&j);
	assert_int_equal(get(j, id).state, J_FILTERED);
	assert_int_equal(totals(j).filtered, 1);
	assert_int_equal(take(j, "u", 1), id);
	assert_int_equal(get(j, id).state, J_TAKEN);
	assert_int_equal(totals(j).filtered, 0);
	assert_int_equal(journal_filtered(j, 99, "x", &err), ST_FATAL);
	assert_int_equal(err.exit, EX_SOFTWARE);
	journal_close(&j);
}

static void test_duplicates(void **state)
{
	struct journal *j = open_it();
	int64_t a = take(j, "a", 1), b = take(j, "b", 1);

	(void)state;
	OK(journal_duplicate(j, b, a, "message-id", &err));
	reopen(&j);
	assert_int_equal(get(j, b).state, J_DUPLICATE);
	assert_int_equal(get(j, b).of, a);
	assert_int_equal(totals(j).duplicate, 1);
	assert_int_equal(journal_duplicate(j, b, 99, "r", &err), ST_FATAL);
	assert_int_equal(err.exit, EX_SOFTWARE);
	assert_int_equal(journal_duplicate(j, 99, a, "r", &err), ST_FATAL);
	assert_int_equal(err.exit, EX_SOFTWARE);
	assert_int_equal(journal_duplicate(j, a, a, "r", &err), ST_FATAL);
	assert_int_equal(get(j, b).of, a);
	journal_close(&j);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_open),
		TEST(test_open_read_only),
		TEST(test_open_unfinished),
		TEST(test_open_refused),
		TEST(test_damaged_rows),
		TEST(test_open_not_a_file),
		TEST(test_open_without_proc),
		TEST(test_open_removed_directory),
		TEST(test_sinks),
		TEST(test_notes),
		TEST(test_take),
		TEST(test_keys),
		TEST(test_reused_uidl),
		TEST(test_without_uidl),
		TEST(test_failed_then_taken),
		TEST(test_failed_keeps_places),
		TEST(test_filtered_then_taken),
		TEST(test_duplicates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
