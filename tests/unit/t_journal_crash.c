/* t_journal_crash.c: the journal after crashes, on bad disks, damaged, and big. */
#include <popferry/clock.h>
#include <popferry/fs.h>

#include "journal_kit.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* ---- transactions and crashes ---- */

static unsigned syncs;

/* SQLite's, too. */
int fsync(int fd)
{
	syncs++;
	return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	syncs++;
	return (int)syscall(SYS_fdatasync, fd);
}

static void lazily(struct journal *j, const char *value)
{
	OK(journal_begin_lazy(j, &err));
	OK(journal_note(j, "k", value, &err));
	OK(journal_commit(j, &err));
}

/* What is owed is synced once; by a commit only when that has something to write. */
static void test_sync_owed(void **state)
{
	struct journal *j = open_it();
	unsigned before;

	(void)state;
	OK(journal_note(j, "other", "1", &err));
	OK(journal_sync(j, &err));
	before = syncs;
	lazily(j, "1");
	assert_int_equal(syncs, before);
	OK(journal_sync(j, &err));
	assert_int_equal(syncs, before + 1);
	OK(journal_sync(j, &err));
	assert_int_equal(syncs, before + 1);
	lazily(j, "2");
	OK(journal_begin(j, &err));
	OK(journal_commit(j, &err));
	assert_int_equal(syncs, before + 1);
	OK(journal_sync(j, &err));
	assert_int_equal(syncs, before + 2);
	/* Neither has one that writes what is there already. */
	lazily(j, "3");
	OK(journal_begin(j, &err));
	OK(journal_note(j, "k", "3", &err));
	OK(journal_commit(j, &err));
	OK(journal_sync(j, &err));
	assert_int_equal(syncs, before + 3);
	lazily(j, "4");
	OK(journal_begin(j, &err));
	OK(journal_note(j, "other", "2", &err));
	OK(journal_commit(j, &err));
	assert_int_equal(syncs, before + 4);
	OK(journal_sync(j, &err));
	assert_int_equal(syncs, before + 4);
	journal_close(&j);
}

static void test_transactions(void **state)
{
	struct journal *j = open_it();
	struct journal_row r;

	(void)state;
	assert_int_equal(journal_commit(j, &err), ST_FATAL);
	OK(journal_begin(j, &err));
	take(j, "a", 1);
	journal_close(&j); /* undone */
	j = open_it();
	assert_int_equal(journal_find(j, "a", 1, 0, &r, &err), ST_END);
	OK(journal_begin(j, &err));
	take(j, "b", 2);
	assert_int_equal(journal_begin(j, &err), ST_FATAL);
	assert_int_equal(err.exit, EX_SOFTWARE);
	assert_int_equal(journal_note(j, "k", "v", &err), ST_FATAL);
	assert_int_equal(journal_commit(j, &err), ST_FATAL);
	assert_int_equal(journal_find(j, "b", 1, 0, &r, &err), ST_END);
	OK(journal_begin(j, &err));
	take(j, "c", 3);
	OK(journal_commit(j, &err));
	assert_int_equal(row_of(j, "c").state, J_TAKEN);
	journal_close(&j);
}

static void die_in_transaction(void)
{
	struct facts f = facts_of(1);
	struct journal_key k = key_of("lost", 0, 1);
	struct place floor = { 7, 1 };
	struct journal *j = NULL;
	int64_t id, run;
	unsigned s;

	NEED(1, journal_open(&j, dirfd_, ACCOUNT, false, &err) == ST_OK);
	NEED(2, journal_sink(j, "a", &s, &err) == ST_OK);
	NEED(3, journal_run_begin(j, 5, &run, &err) == ST_OK);
	NEED(4, journal_begin(j, &err) == ST_OK);
	k.uidl = "kept";
	NEED(5, journal_take(j, &k, &f, 0, &id, &err) == ST_OK);
	NEED(6, journal_storing(j, id, s, "INBOX", &floor, 1, &err) == ST_OK);
	NEED(7, journal_commit(j, &err) == ST_OK);
	NEED(8, journal_begin(j, &err) == ST_OK);
	NEED(9, journal_stored(j, id, s, &floor, NULL, &err) == ST_OK);
	f = facts_of(2);
	k.uidl = "lost";
	NEED(10, journal_take(j, &k, &f, 0, &id, &err) == ST_OK);
	_exit(0);
}

static void test_crash(void **state)
{
	struct journal *j;
	struct journal_row r;
	struct journal_run run;

	(void)state;
	assert_int_equal(exit_of_child(die_in_transaction), 0);
	j = open_it();
	r = row_of(j, "kept");
	assert_int_equal(r.storing, 1);
	assert_int_equal(r.stored, 0);
	assert_int_equal(journal_find(j, "lost", 4, 0, &r, &err), ST_END);
	OK(journal_last_run(j, &run, &err));
	assert_int_equal(run.finished, 0);
	journal_close(&j);
}

/*
 * A first run, in a program of its own: the crash steps are counted from its start.
 * Dies at the step that POPFERRY_CRASH_AT names.
 */
static int first_run(const char *where)
{
	struct journal *j = NULL;
	struct facts f = facts_of(1);
	struct journal_key k = key_of("a", 0, 1);
	int64_t id;

	dirfd_ = open(where, O_RDONLY | O_DIRECTORY);
	NEED(1, journal_open(&j, dirfd_, ACCOUNT, false, &err) == ST_OK);
	NEED(2, journal_take(j, &k, &f, 0, &id, &err) == ST_OK);
	journal_close(&j);
	close(dirfd_);
	return 0;
}

static void start_first_run(void)
{
	execl("/proc/self/exe", "t_journal_crash", dir, (char *)NULL);
	_exit(99);
}

static void test_crash_steps(void **state)
{
	int n, rc = 128 + SIGKILL;
	char at[16];

	(void)state;
	for (n = 0; rc == 128 + SIGKILL; n++) {
		struct journal *j = NULL;

		assert_true(n < 30);
		wipe();
		snprintf(at, sizeof(at), "%d", n + 1);
		setenv("POPFERRY_CRASH_AT", at, 1);
		rc = exit_of_child(start_first_run);
		unsetenv("POPFERRY_CRASH_AT");
		j = open_it();
		take(j, "a", 1);
		assert_int_equal(totals(j).messages, 1);
		journal_close(&j);
	}
	assert_int_equal(rc, 0);
	/* The file, the tables, and before and after each of two commits. */
	assert_int_equal(n, 7);
}

static void fill_disk(void)
{
	struct rlimit small = { 256 * 1024, 256 * 1024 };
	struct journal *j = NULL;
	struct facts f;
	char name[16];
	uint32_t i;
	enum status rc = ST_OK;
	int64_t id;

	NEED(1, journal_open(&j, dirfd_, ACCOUNT, false, &err) == ST_OK);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &small);
	for (i = 0; i < 20000 && rc == ST_OK; i++) {
		struct journal_key k;

		if (i % 10 == 0)
			rc = journal_begin(j, &err);
		snprintf(name, sizeof(name), "%u", i);
		k = key_of(name, 0, 1);
		f = facts_of(i);
		if (rc == ST_OK)
			rc = journal_take(j, &k, &f, 0, &id, &err);
		if (rc == ST_OK && i % 10 == 9)
			rc = journal_commit(j, &err);
	}
	NEED(2, rc == ST_FATAL);
	NEED(3, err.exit == EX_IOERR);
	NEED(4, journal_commit(j, &err) == ST_FATAL);
	journal_close(&j);
}

static void test_disk_full(void **state)
{
	struct journal *j;

	(void)state;
	assert_int_equal(exit_of_child(fill_disk), 0);
	j = open_it();
	assert_int_equal(totals(j).messages % 10, 0);
	assert_true(totals(j).messages > 10);
	take(j, "more", 1);
	journal_close(&j);
}

/* ---- damaged files ---- */

static char *slurp(const char *name, size_t *n)
{
	char *p = NULL;

	OK(fs_read(&p, n, dirfd_, name, 64 << 20, &err));
	return p;
}

static void spit(const char *name, const char *p, size_t n)
{
	int fd = open(in_dir(name), O_CREAT | O_TRUNC | O_WRONLY, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, n), n);
	close(fd);
}

enum { MANY = 60 };

static void fill_many(struct journal *j)
{
	unsigned i, k = sink(j, "a");
	char name[40];

	for (i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "uidl-%u", i);
		OK(journal_begin(j, &err));
		store(j, take(j, name, i), k, i + 1);
		OK(journal_commit(j, &err));
	}
}

static void ignore_place(
	void *ctx, const struct place *at, const unsigned char exact[DIGEST])
{
	(void)ctx;
	(void)at;
	(void)exact;
}

/* Uses everything; an error must be an error with a text, never a crash. */
static enum status use_all(struct journal *j, bool read_only)
{
	struct facts f = facts_of(3);
	struct journal_totals t;
	struct journal_row r;
	struct seen s = { .n = 0 };
	enum status rc = ST_OK;
	char name[40];
	unsigned i;

	for (i = 0; i < MANY && rc >= ST_OK; i++) {
		snprintf(name, sizeof(name), "uidl-%u", i);
		rc = journal_find(j, name, strlen(name), 0, &r, &err);
	}
	if (rc >= ST_OK)
		rc = journal_totals(j, &t, &err);
	if (rc >= ST_OK)
		rc = journal_candidates(j, 1, f.msgid, NULL, see, &s, &err);
	if (rc >= ST_OK)
		rc = journal_candidates(j, 1, f.msgid, f.exact, see, &s, &err);
	if (rc >= ST_OK)
		rc = journal_places(j, 0, "INBOX", ignore_place, NULL, &err);
	if (rc >= ST_OK && !read_only)
		rc = journal_note(j, "a", "b", &err);
	return rc;
}

static void test_truncated(void **state)
{
	struct journal *j = open_it();
	size_t n, cut, step;
	char *whole;

	(void)state;
	fill_many(j);
	journal_close(&j);
	whole = slurp(DB, &n);
	for (cut = 2; cut < n; cut += step) {
		step = cut < 120 ? 3 : cut < 4200 ? 97 : 4519;
		wipe();
		spit(DB, whole, cut);
		err.text[0] = '\0';
		if (journal_open(&j, dirfd_, ACCOUNT, false, &err) != ST_FATAL ||
			err.exit != EX_DATAERR || !err.text[0])
			fail_msg(
				"cut at %zu of %zu: %d %s", cut, n, err.exit, err.text);
		assert_null(j);
	}
	free(whole);
}

static void test_garbage(void **state)
{
	struct journal *j = open_it();
	size_t n, at, k;
	char *whole, *bad;
	unsigned refused = 0, opened = 0, seed = 1;
	bool read_only;

	(void)state;
	fill_many(j);
	journal_close(&j);
	whole = slurp(DB, &n);
	bad = xmalloc(n);
	for (at = 0; at < n; at += at < 128 ? 3 : 509) {
		memcpy(bad, whole, n);
		for (k = at; k < at + 1 + at % 300 && k < n; k++) {
			seed = seed * 1103515245 + 12345;
			bad[k] = (char)(seed >> 16);
		}
		wipe();
		spit(DB, bad, n);
		err.text[0] = '\0';
		read_only = at % 16 != 0; /* each sync takes its time */
		if (journal_open(&j, dirfd_, ACCOUNT, read_only, &err) != ST_OK ||
			use_all(j, read_only) < ST_OK) {
			assert_true(strlen(err.text) > 0);
			refused++;
		} else {
			opened++;
		}
		journal_close(&j);
	}
	assert_true(refused > 20);
	assert_true(opened > 0);
	for (k = 0; k < n; k++) {
		seed = seed * 1103515245 + 12345;
		bad[k] = (char)(seed >> 16);
	}
	for (k = 2; k < 5000; k = k * 2 + 1) {
		wipe();
		spit(DB, bad, k);
		assert_int_equal(
			journal_open(&j, dirfd_, ACCOUNT, false, &err), ST_FATAL);
		assert_int_equal(err.exit, EX_DATAERR);
		assert_non_null(strstr(err.text, "backup"));
	}
	free(bad);
	free(whole);
}

/* Dies with all of it in the write-ahead log. */
static void leave_log(void)
{
	struct journal *j = NULL;
	char name[40];
	unsigned i;

	NEED(1, journal_open(&j, dirfd_, ACCOUNT, false, &err) == ST_OK);
	for (i = 0; i < MANY; i++) {
		struct facts f = facts_of(i);
		struct journal_key k;
		int64_t id;

		snprintf(name, sizeof(name), "uidl-%u", i);
		k = key_of(name, 0, 1);
		NEED(2, journal_begin(j, &err) == ST_OK);
		NEED(3, journal_take(j, &k, &f, 0, &id, &err) == ST_OK);
		NEED(4, journal_commit(j, &err) == ST_OK);
	}
	_exit(0);
}

/* How many of the transactions are there; it must be the first so many, whole ones. */
static size_t prefix_of(struct journal *j)
{
	size_t have = totals(j).messages, i;
	struct journal_row r;
	char name[40];

	assert_true(have <= MANY);
	for (i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "uidl-%zu", i);
		assert_int_equal(journal_find(j, name, strlen(name), 0, &r, &err),
			i < have ? ST_OK : ST_END);
	}
	return have;
}

/* A torn or damaged log gives what was before the tear (quirk Q126). */
static void test_torn_log(void **state)
{
	size_t db_n, wal_n, cut, step, have, last = 0;
	char *db, *wal;
	struct journal *j;

	(void)state;
	j = open_it();
	journal_close(&j);
	assert_int_equal(exit_of_child(leave_log), 0);
	db = slurp(DB, &db_n);
	wal = slurp(DB "-wal", &wal_n);
	for (cut = 0; cut <= wal_n; cut += step) {
		bool read_only = cut % 10 != 0 && cut < wal_n;

		step = cut < wal_n && wal_n - cut < 9973 ? wal_n - cut : 9973;
		wipe();
		spit(DB, db, db_n);
		spit(DB "-wal", wal, cut);
		OK(journal_open(&j, dirfd_, ACCOUNT, read_only, &err));
		have = prefix_of(j);
		assert_true(have >= last);
		last = have;
		journal_close(&j);
	}
	assert_int_equal(last, MANY);
	for (cut = 0; cut < wal_n; cut += wal_n / 40) {
		wal[cut] ^= 0x20;
		wipe();
		spit(DB, db, db_n);
		spit(DB "-wal", wal, wal_n);
		OK(journal_open(&j, dirfd_, ACCOUNT, true, &err));
		assert_true(prefix_of(j) < MANY);
		journal_close(&j);
		wal[cut] ^= 0x20;
	}
	free(db);
	free(wal);
}

/* ---- size and speed ---- */

static void test_many(void **state)
{
	/* Enough to see a scan where an index should be; 100000 to measure. */
	const char *s = getenv("T_JOURNAL_MANY");
	uint32_t n = s ? (uint32_t)strtoul(s, NULL, 10) : 3000, i;
	struct journal *j = open_it();
	unsigned k = sink(j, "a");
	struct journal_row r;
	struct stat st;
	int64_t t0, taking, finding, finding2, dups, summing;
	char name[40];

	(void)state;
	t0 = clock_ms();
	for (i = 0; i < n; i++) {
		if (i % 100 == 0)
			OK(journal_begin(j, &err));
		snprintf(name, sizeof(name), "%08x%08x", i + 1, 0x6b025a73);
		store(j, take(j, name, i), k, i + 1);
		if (i % 100 == 99 || i + 1 == n)
			OK(journal_commit(j, &err));
	}
	taking = clock_ms() - t0;
	reopen(&j);
	t0 = clock_ms();
	for (i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%08x%08x", i + 1, 0x6b025a73);
		OK(journal_find(j, name, 16, 0, &r, &err));
	}
	finding = clock_ms() - t0;
	OK(journal_begin(j, &err));
	t0 = clock_ms();
	for (i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%08x%08x", i + 1, 0x6b025a73);
		OK(journal_find(j, name, 16, 0, &r, &err));
	}
	finding2 = clock_ms() - t0;
	t0 = clock_ms();
	for (i = 0; i < n; i++) {
		struct facts f = facts_of(i);
		struct seen seen = { .n = 0 };

		OK(journal_candidates(
			j, 1, f.msgid, i & 1 ? NULL : f.exact, see, &seen, &err));
		assert_int_equal(seen.n, 1);
	}
	dups = clock_ms() - t0;
	OK(journal_commit(j, &err));
	t0 = clock_ms();
	assert_int_equal(totals(j).stored, n);
	summing = clock_ms() - t0;
	journal_close(&j);
	assert_int_equal(stat(in_dir(DB), &st), 0);
	if (s)
		print_message("%u messages: taken in %lld ms, found in %lld ms (in a "
			      "transaction %lld), candidates %lld ms, totals %lld ms, "
			      "%lld bytes a row\n",
			n, (long long)taking, (long long)finding, (long long)finding2,
			(long long)dups, (long long)summing,
			(long long)(st.st_size / n));
	assert_true(st.st_size / n < 400);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_transactions),
		TEST(test_sync_owed),
		TEST(test_crash),
		TEST(test_crash_steps),
		TEST(test_disk_full),
		TEST(test_truncated),
		TEST(test_garbage),
		TEST(test_torn_log),
		TEST(test_many),
	};

	if (argc == 2)
		return first_run(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
