/*
 * t_state.c: the state directory and the journal in it, as a run finds them after
 * accidents and attacks (quirks Q126, Q127, section 5.7). A run either goes on with all
 * of it once, or refuses in a clear sentence and touches nothing.
 *
 * A run that is killed, or is somebody else's, is a process of its own: this
 * program with arguments.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_kit.h"

#include <errno.h>
#include <popferry/fs.h>
#include <signal.h>

#define DB "state/journal.sqlite"

enum { NOBODY = 65534, FILE_MAX = 8 * 1024 * 1024 };

static const char mail[] = "abcA0";

/* ---- files ---- */

static const char *in_rig(const struct rig *r, const char *name)
{
	static char path[4][600];
	static unsigned k;

	snprintf(path[++k % 4], sizeof(path[0]), "%s/%s", r->dir, name);
	return path[k % 4];
}

static char *slurp(const struct rig *r, const char *name, size_t *n)
{
	char *p = xmalloc(FILE_MAX);
	int fd = open(in_rig(r, name), O_RDONLY | O_CLOEXEC);
	ssize_t got;

	*n = 0;
	if (fd < 0) {
		free(p);
		return NULL;
	}
	got = read(fd, p, FILE_MAX);
	assert_true(got >= 0 && got < FILE_MAX);
	close(fd);
	*n = (size_t)got;
	return p;
}

static void spit(const struct rig *r, const char *name, const char *p, size_t n)
{
	int fd = open(in_rig(r, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, n), n);
	close(fd);
}

static void drop_log(const struct rig *r)
{
	unlink(in_rig(r, DB "-wal"));
	unlink(in_rig(r, DB "-shm"));
}

/* ---- runs that must be refused ---- */

/* Refused so, with nothing fetched, stored or changed in the journal. */
static void refused(struct rig *r, const char *name, const char *options, int code,
	const char *text)
{
	unsigned retrs = fakepop_count(r->pop, "RETR"),
		 changes = fakeimap_changes(r->imap);
	size_t before_n, after_n;
	char *before = slurp(r, DB, &before_n), *after;
	int got = kit_run(r, options);

	if (got != code || !strstr(r->out.err.text, text))
		fail_msg("%s: exit %d, \"%s\"; not %d, \"... %s ...\"", name, got,
			r->out.err.text, code, text);
	after = slurp(r, DB, &after_n);
	if (before_n != after_n || (before && memcmp(before, after, before_n) != 0))
		fail_msg("%s: the journal was changed", name);
	if (fakepop_count(r->pop, "RETR") != retrs ||
		fakeimap_changes(r->imap) != changes)
		fail_msg("%s: the servers were troubled", name);
	free(before);
	free(after);
}

/* ---- a journal that cannot be used ---- */

static void newer(char *p, size_t n)
{
	(void)n;
	p[60] = p[61] = p[62] = 0; /* user_version, big-endian */
	p[63] = 99;
}

static void foreign(char *p, size_t n)
{
	(void)n;
	memcpy(p + 68, "Mozi", 4); /* application_id */
}

static void garbage(char *p, size_t n)
{
	unsigned seed = 7;

	while (n--) {
		seed = seed * 1103515245 + 12345;
		p[n] = (char)(seed >> 16);
	}
}

static void zeros(char *p, size_t n)
{
	memset(p, 0, n);
}

static void half_garbage(char *p, size_t n)
{
	garbage(p + n / 2, n - n / 2);
}

static void test_spoiled_journal(void **state)
{
	static const struct {
		const char *name;
		void (*spoil)(char *p, size_t n);
		int code;
		const char *text;
	} rows[] = {
		{ "a newer version", newer, EX_CONFIG, "newer popferry" },
		{ "another program's", foreign, EX_DATAERR, "another program" },
		{ "garbage", garbage, EX_DATAERR, "damaged" },
		{ "zeros", zeros, EX_DATAERR, "damaged" },
		{ "half of it garbage", half_garbage, EX_DATAERR, "damaged" },
	};
	char *whole, *p;
	struct rig *r;
	size_t i, n;

	(void)state;
	kit_open(&r);
	kit_mail(r, mail);
	assert_int_equal(kit_run(r, "archive"), 0);
	whole = slurp(r, DB, &n);
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		p = xmemdup0(whole, n);
		rows[i].spoil(p, n);
		drop_log(r);
		spit(r, DB, p, n);
		refused(r, rows[i].name, "archive", rows[i].code, rows[i].text);
		free(p);
	}
	/* With its bytes back it goes on as if nothing had been. */
	drop_log(r);
	spit(r, DB, whole, n);
	assert_int_equal(kit_run(r, "archive"), 0);
	assert_string_equal(r->ledger, "5 listed, 5 known");
	free(whole);
	kit_close(&r);
}

static void test_truncated_journal(void **state)
{
	static const size_t at[] = { 1, 2, 15, 16, 99, 100, 101, 511, 512, 4095, 4096,
		4097, 8192, 12288 };
	struct rig *r;
	size_t i, n;
	char *whole, name[40];

	(void)state;
	kit_open(&r);
	kit_mail(r, mail);
	assert_int_equal(kit_run(r, "archive"), 0);
	whole = slurp(r, DB, &n);
	for (i = 0; i <= N_ELEMENTS(at); i++) {
		size_t cut = i < N_ELEMENTS(at) ? at[i] : n - 1;

		assert_true(cut < n);
		snprintf(name, sizeof(name), "cut at %zu of %zu", cut, n);
		drop_log(r);
		spit(r, DB, whole, cut);
		refused(r, name, "archive", EX_DATAERR, "put a backup in its place");
	}
	free(whole);
	kit_close(&r);
}

/*
 * A file of no bytes is what a run leaves that died at once; nothing tells it from a
 * journal that was lost. What is at the destinations is found there (quirk Q127).
 */
static void test_lost_journal(void **state)
{
	static const char *const ways[] = { "empty", "gone" };
	struct rig *r;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(ways); i++) {
		kit_open(&r);
		kit_mail(r, mail);
		assert_int_equal(kit_run(r, "archive"), 0);
		drop_log(r);
		if (i == 0)
			spit(r, DB, "", 0);
		else
			unlink(in_rig(r, DB));
		if (kit_run(r, "archive") != 0)
			fail_msg("%s: %s", ways[i], r->out.err.text);
		kit_expect(r, ways[i], mail);
		kit_expect_archive(r, ways[i], mail);
		assert_int_equal(kit_run(r, "archive"), 0);
		assert_string_equal(r->ledger, "5 listed, 5 known");
		kit_close(&r);
	}
}

/* The same job and state directory, with another user to read from. */
static void run_as_other(struct rig *r, int want)
{
	struct err err = ERR_INIT;
	struct job *j;
	char url[100];

	job_new(&j);
	snprintf(url, sizeof(url), "pop3://other@127.0.0.1:%u", fakepop_port(r->pop));
	kit_set(j, "source", url);
	kit_set(j, "source-tls", "none");
	kit_set(j, "source-password-env", "KIT_SOURCE");
	snprintf(url, sizeof(url), "archive:%.60s/archive", r->dir);
	kit_set(j, "dest", url);
	kit_set(j, "state", r->state);
	assert_int_equal(job_check(j, &err), ST_OK);
	if (kit_run_job(r, j) != want)
		fail_msg("exit %d: %s", r->out.exit, r->out.err.text);
	job_free(&j);
}

static void test_other_account(void **state)
{
	struct rig *r;

	(void)state;
	kit_open(&r);
	kit_mail(r, "ab");
	assert_int_equal(kit_run(r, "only-archive"), 0);
	run_as_other(r, EX_CONFIG);
	assert_non_null(strstr(r->out.err.text, "belongs to the source"));
	assert_int_equal(fakepop_count(r->pop, "RETR"), 2);
	kit_close(&r);
}

/* Once what was wrong with the source is put right, the same state directory does. */
static void test_other_account_after_nothing(void **state)
{
	char *refuse[] = { (char *)"on", (char *)"PASS", (char *)"reply",
		(char *)"-ERR [AUTH] no" };
	char *well[] = { (char *)"well" };
	char why[200];
	struct rig *r;

	(void)state;
	kit_open(&r);
	kit_mail(r, "ab");
	assert_true(fakepop_say(r->pop, 4, refuse, why, sizeof(why)));
	run_as_other(r, EX_NOPERM);
	assert_true(fakepop_say(r->pop, 1, well, why, sizeof(why)));
	assert_int_equal(kit_run(r, "only-archive"), 0);
	assert_string_equal(r->ledger, "2 listed, 2 stored");
	run_as_other(r, EX_CONFIG);
	assert_int_equal(kit_run(r, "only-archive"), 0);
	assert_string_equal(r->ledger, "2 listed, 2 known");
	kit_close(&r);
}

/* ---- a log that is torn ---- */

/* The arguments of a run of its own: "run", or whom to be, and the rig's directory,
 * ports. */
static int run_here(char **argv)
{
	const struct pace pace = kit_pace();
	struct job *j;
	struct outcome out;
	struct engine *e;

	if (strcmp(argv[1], "nobody") == 0 &&
		(setgid(NOBODY) < 0 || setuid(NOBODY) < 0))
		return 99;
	j = kit_job_at(argv[2], (unsigned)strtoul(argv[3], NULL, 10),
		(unsigned)strtoul(argv[4], NULL, 10), "archive");
	log_setup(LOG_TEXT, LV_ERROR, open("/dev/null", O_WRONLY));
	engine_new(&e, j, NULL);
	engine_pace(e, &pace);
	engine_run(e, &out);
	engine_free(&e);
	job_free(&j);
	return out.exit;
}

/* Its exit code; 128 and the signal. step 0: it does not die. */
static int run_apart(struct rig *r, const char *who, int step)
{
	char at[16], pop[16], imap[16];
	pid_t pid;
	int st;

	snprintf(at, sizeof(at), "%d", step);
	snprintf(pop, sizeof(pop), "%u", fakepop_port(r->pop));
	snprintf(imap, sizeof(imap), "%u", fakeimap_port(r->imap));
	pid = fork();
	if (pid == 0) {
		if (step)
			setenv("POPFERRY_CRASH_AT", at, 1);
		execl("/proc/self/exe", "t_state", who, r->dir, pop, imap,
			(char *)NULL);
		_exit(98);
	}
	assert_int_equal(waitpid(pid, &st, 0), pid);
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

/*
 * Whatever of the log a disk has lost: the journal is an earlier one, and what it
 * does not know any more is found at the destinations.
 */
static void torn_after(int step, unsigned tenths)
{
	char name[60], *log;
	struct rig *r;
	size_t n, cut;

	kit_open(&r);
	kit_mail(r, mail);
	assert_int_equal(run_apart(r, "run", step), 128 + SIGKILL);
	log = slurp(r, DB "-wal", &n);
	if (log) {
		cut = n * tenths / 10 + (tenths % 2 ? 13 : 0);
		snprintf(name, sizeof(name), "step %d, log cut at %zu of %zu", step,
			cut, n);
		drop_log(r);
		spit(r, DB "-wal", log, cut < n ? cut : n);
		if (kit_run(r, "archive") != 0)
			fail_msg("%s: exit %d, %s", name, r->out.exit, r->out.err.text);
		kit_expect(r, name, mail);
		kit_expect_archive(r, name, mail);
	}
	free(log);
	kit_close(&r);
}

static void test_torn_log(void **state)
{
	unsigned tenths;
	int step;

	(void)state;
	for (step = 14; step <= 26; step += 4)
		for (tenths = 0; tenths <= 10; tenths += step % 8 == 6 ? 4 : 3)
			torn_after(step, tenths);
}

/* ---- the directory ---- */

static void as_symlink(struct rig *r)
{
	assert_int_equal(mkdir(in_rig(r, "real"), 0700), 0);
	assert_int_equal(symlink("real", r->state), 0);
}

static void as_dangling_symlink(struct rig *r)
{
	assert_int_equal(symlink("nowhere", r->state), 0);
}

static void as_file(struct rig *r)
{
	spit(r, "state", "a file\n", 7);
}

static void make(struct rig *r, mode_t mode)
{
	assert_int_equal(mkdir(r->state, 0700), 0);
	assert_int_equal(chmod(r->state, mode), 0);
}

static void for_group(struct rig *r)
{
	make(r, 0770);
}

static void for_all(struct rig *r)
{
	make(r, 01777);
}

static void journal_as_symlink(struct rig *r)
{
	make(r, 0700);
	spit(r, "victim", "precious\n", 9);
	assert_int_equal(symlink("../victim", in_rig(r, DB)), 0);
}

static void journal_as_directory(struct rig *r)
{
	make(r, 0700);
	assert_int_equal(mkdir(in_rig(r, DB), 0700), 0);
}

static void journal_as_pipe(struct rig *r)
{
	make(r, 0700);
	assert_int_equal(mkfifo(in_rig(r, DB), 0600), 0);
}

static void journal_of_text(struct rig *r)
{
	make(r, 0700);
	spit(r, DB, "To do: buy milk\n", 16);
}

static void test_refused_directory(void **state)
{
	static const struct {
		const char *name;
		void (*make)(struct rig *r);
		int code;
		const char *text;
	} rows[] = {
		{ "a symbolic link", as_symlink, EX_CONFIG, "symbolic link" },
		{ "a link to nothing", as_dangling_symlink, EX_CONFIG,
			"symbolic link" },
		{ "a file", as_file, EX_CONFIG, "not a directory" },
		{ "the group may write", for_group, EX_CONFIG, "chmod go-w" },
		{ "all may write", for_all, EX_CONFIG, "chmod go-w" },
		{ "journal: a symbolic link", journal_as_symlink, EX_CONFIG,
			"not a plain file" },
		{ "journal: a directory", journal_as_directory, EX_CONFIG,
			"not a plain file" },
		{ "journal: a pipe", journal_as_pipe, EX_CONFIG, "not a plain file" },
		{ "journal: a text", journal_of_text, EX_DATAERR, "damaged" },
	};
	struct rig *r;
	char *left;
	size_t i, n;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		int code;

		kit_open(&r);
		kit_mail(r, "ab");
		rows[i].make(r);
		code = kit_run(r, "archive");
		if (code != rows[i].code || !strstr(r->out.err.text, rows[i].text))
			fail_msg("%s: exit %d, \"%s\"", rows[i].name, code,
				r->out.err.text);
		assert_int_equal(fakepop_count(r->pop, "RETR"), 0);
		assert_int_equal(fakeimap_changes(r->imap), 0);
		left = slurp(r, "victim", &n);
		if (left)
			assert_memory_equal(left, "precious\n", 9);
		free(left);
		kit_close(&r);
	}
}

/* What others may read is no danger: every file in it is only ours. */
static void test_readable_directory(void **state)
{
	struct stat st;
	struct rig *r;

	(void)state;
	kit_open(&r);
	kit_mail(r, "ab");
	make(r, 0755);
	assert_int_equal(kit_run(r, NULL), 0);
	assert_int_equal(stat(in_rig(r, DB), &st), 0);
	assert_int_equal(st.st_mode & 077, 0);
	kit_close(&r);
}

static void test_somebody_elses(void **state)
{
	struct rig *r;

	(void)state;
	if (geteuid() != 0)
		skip(); /* only root can make one */
	kit_open(&r);
	kit_mail(r, "ab");
	make(r, 0700);
	assert_int_equal(chown(r->state, NOBODY, NOBODY), 0);
	refused(r, "somebody else's", NULL, EX_CONFIG, "belongs to user 65534");
	kit_close(&r);
}

/* Without the right to write, as on a file system that is only read. */
static void test_no_right(void **state)
{
	static const struct {
		const char *name, *path;
		mode_t mode;
		bool made, again; /* the directory is; a first run was */
	} rows[] = {
		{ "nothing can be made here", ".", 0500, false, false },
		{ "no right to the directory", "state", 0500, true, false },
		{ "no right to the journal", DB, 0000, true, true },
		{ "no right to write the journal", DB, 0400, true, true },
	};
	bool root = geteuid() == 0;
	struct rig *r;
	size_t i;
	int code;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		kit_open(&r);
		kit_mail(r, "ab");
		if (root)
			assert_int_equal(chown(r->dir, NOBODY, NOBODY), 0);
		if (rows[i].again)
			code = run_apart(r, root ? "nobody" : "run", 0);
		else
			code = 0;
		if (code == 98) { /* whom we would be cannot come to this program */
			kit_close(&r);
			skip();
		}
		assert_int_equal(code, 0);
		if (rows[i].made && !rows[i].again) {
			make(r, 0700);
			if (root)
				assert_int_equal(chown(r->state, NOBODY, NOBODY), 0);
		}
		assert_int_equal(chmod(in_rig(r, rows[i].path), rows[i].mode), 0);
		code = run_apart(r, root ? "nobody" : "run", 0);
		assert_int_equal(chmod(in_rig(r, rows[i].path), 0700), 0);
		if (code == 98) {
			kit_close(&r);
			skip();
		}
		if (code != EX_CANTCREAT)
			fail_msg("%s: exit %d", rows[i].name, code);
		kit_expect(r, rows[i].name, rows[i].again ? "ab" : "");
		kit_close(&r);
	}
}

static void test_lock_held(void **state)
{
	struct err err = ERR_INIT;
	struct rig *r;
	int dir, lock;

	(void)state;
	kit_open(&r);
	kit_mail(r, "ab");
	assert_int_equal(fs_open_dir(&dir, r->state, &err), ST_OK);
	assert_int_equal(fs_lock(&lock, dir, "lock", &err), ST_OK);
	refused(r, "held", "archive", EX_TEMPFAIL, "another run is at work");
	close(lock);
	close(dir);
	assert_int_equal(kit_run(r, "archive"), 0);
	kit_expect(r, "let go", "ab");
	kit_close(&r);
}

/* A name that other programs would choke on is a name like any other. */
static void test_odd_names(void **state)
{
	static const char *const names[] = { "a b", "-rf", "per%cent", "q?mode=memory",
		"file:x", "\303\244" };
	char was[200], path[256];
	struct rig *r;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(names); i++) {
		struct rig inner;

		kit_open(&r);
		kit_mail(r, "ab");
		memcpy(was, r->dir, sizeof(was));
		snprintf(path, sizeof(path), "%.150s/%s", was, names[i]);
		assert_int_equal(mkdir(path, 0700), 0);
		inner = *r;
		snprintf(inner.dir, sizeof(inner.dir), "%.190s", path);
		if (kit_run(&inner, NULL) != 0)
			fail_msg("%s: %s", names[i], inner.out.err.text);
		assert_int_equal(access(in_rig(&inner, DB), F_OK), 0);
		kit_close(&r);
	}
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spoiled_journal),
		cmocka_unit_test(test_truncated_journal),
		cmocka_unit_test(test_lost_journal),
		cmocka_unit_test(test_other_account),
		cmocka_unit_test(test_other_account_after_nothing),
		cmocka_unit_test(test_torn_log),
		cmocka_unit_test(test_refused_directory),
		cmocka_unit_test(test_readable_directory),
		cmocka_unit_test(test_somebody_elses),
		cmocka_unit_test(test_no_right),
		cmocka_unit_test(test_lock_held),
		cmocka_unit_test(test_odd_names),
	};

	if (argc == 5)
		return run_here(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
