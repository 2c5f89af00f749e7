/*
 * t_dispose.c: messages that are taken out of an archive: what is left of them, and
 * that everything else is as it was, at whatever step it was killed.
 */
#include "t_dispose.h"

enum { STEPS_MAX = 100 };

/* ---- taking out ---- */

static void test_take_out(void **state)
{
	static const unsigned first[] = { 7 }, all[] = { 1, 6, 7, 8, 14 };
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(codecs); i++) {
		char *dir = sealed(codecs[i]), *name;

		must_dispose(dir, "7", 1);
		name = xasprintf("segments/acme-000002.r1.%s", suffixes[i]);
		assert_true(exists(dir, name));
		free(name);
		name = xasprintf("segments/acme-000002.%s", suffixes[i]);
		assert_false(exists(dir, name));
		assert_false(exists(dir, "segments/acme-000002.idx"));
		assert_false(exists(dir, "open/dispose.json"));
		free(name);
		check_left(dir, first, 1);
		check_state(dir, ALL - 1, 1);
		must_dispose(dir, "1-8", 7);
		check_state(dir, ALL - 8, 8);
		remove_all(dir);
		free(dir);
		dir = sealed(codecs[i]);
		must_dispose(dir, "7", 1);
		must_dispose(dir, "6-8", 2);
		must_dispose(dir, "1", 1);
		must_dispose(dir, "14", 1);
		must_dispose(dir, "1", 0);
		check_left(dir, all, N_ELEMENTS(all));
		check_state(dir, ALL - 5, 5);
		remove_all(dir);
		free(dir);
	}
}

/* ---- what is left ---- */

static bool contains(const char *p, size_t n, const char *what)
{
	return memmem(p, n, what, strlen(what)) != NULL;
}

/* The field of this column of the line of message 7 of merkle.tsv, as the bag has
 * it. */
static void unpack(
	const char *dir, enum archive_codec c, const char *to, const char *file)
{
	static const char *const flags[] = { "-xzf", NULL, NULL, "-xf" };
	char *out = xasprintf("%s/out", to),
	     *path = xasprintf("%s/segments/%s", dir, file);
	const char *tar[] = { "tar", flags[c], path, NULL },
		   *zst[] = { "tar", "--zstd", "-xf", path, NULL },
		   *zip[] = { "unzip", "-q", path, NULL };

	assert_int_equal(tool(to, out,
				 c == ARCHIVE_ZST           ? zst
					 : c == ARCHIVE_ZIP ? zip
							    : tar),
		0);
	unlink(out);
	free(out);
	free(path);
}

static const char *secrets[16];
static size_t secrets_n;
static unsigned found;

static int grep_one(const char *p, const struct stat *st, int type, struct FTW *f)
{
	char *text;
	size_t n, i;

	(void)st;
	(void)f;
	if (type != FTW_F)
		return 0;
	text = slurp(p, &n);
	for (i = 0; i < secrets_n; i++)
		if (contains(text, n, secrets[i]) || strstr(p, secrets[i]))
			found++;
	free(text);
	return 0;
}

static bool leaves_trace(const char *dir)
{
	found = 0;
	nftw(dir, grep_one, 16, FTW_PHYS);
	return found > 0;
}

/* Line `seq` of a table of the unpacked bag, as fields between tabs. */
static char *merkle_field(const char *bag, unsigned seq, unsigned field)
{
	char *path = xasprintf("%s/acme-000002/metadata/merkle.tsv", bag), *text, *s,
	     *out;
	char *start = xasprintf("\n%u\t", seq);
	size_t n;

	text = slurp(path, &n);
	s = strstr(text, start);
	assert_non_null(s);
	for (s++; field--;)
		s = strchr(s, '\t') + 1;
	out = xmemdup0(s, strcspn(s, "\t\n"));
	free(text);
	free(path);
	free(start);
	return out;
}

static void test_nothing_left(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(codecs); i++) {
		char *dir = sealed(codecs[i]), *bag = scratch(), *after = scratch();
		char *file = xasprintf("acme-000002.%s", suffixes[i]);
		char *next = xasprintf("acme-000002.r1.%s", suffixes[i]);
		char *sha, *salt, *leaf, *is;

		unpack(dir, codecs[i], bag, file);
		/* Message 7 is number 6 of those that are made: 5000 bytes. */
		sha = merkle_field(bag, 7, 2);
		salt = merkle_field(bag, 7, 3);
		leaf = merkle_field(bag, 7, 4);
		secrets_n = 0;
		secrets[secrets_n++] = sha;
		secrets[secrets_n++] = salt;
		secrets[secrets_n++] = "line 6";
		secrets[secrets_n++] = "a6@example.org";
		secrets[secrets_n++] = "<6@example.org>";
		secrets[secrets_n++] = "u\"\"6";
		secrets[secrets_n++] = "000000007.eml";
		assert_true(leaves_trace(bag));
		must_dispose(dir, "7", 1);
		unpack(dir, codecs[i], after, next);
		assert_false(leaves_trace(after));
		assert_false(leaves_trace(dir));
		is = merkle_field(after, 7, 4);
		assert_string_equal(leaf, is);
		assert_int_equal(script(dir), 0);
		remove_all(dir);
		remove_all(bag);
		remove_all(after);
		free(dir);
		free(bag);
		free(after);
		free(file);
		free(next);
		free(sha);
		free(salt);
		free(leaf);
		free(is);
	}
}

/* An archive that has it no more does not know it again; all others it does. */
static void test_not_found(void **state)
{
	char *dir = sealed(ARCHIVE_GZ);
	struct archive_writer *w;
	unsigned i;

	(void)state;
	must_dispose(dir, "7", 1);
	w = open_archive(dir, ARCHIVE_GZ, PER_SEGMENT);
	for (i = 0; i < ALL; i++)
		assert_int_equal(find_one(w, spool, i), i == 6 ? 0 : i + 1);
	assert_int_equal(put_one(w, spool, 20), ALL + 1);
	archive_close(&w);
	remove_all(dir);
	free(dir);
}

/* ---- damage ---- */

static void refused(const char *dir, const char *why)
{
	struct archive_disposed out;
	struct err err = ERR_INIT;
	struct picked p;

	assert_int_equal(dispose(dir, "7", true, &out, &p, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	if (!strstr(err.text, why))
		fail_msg("%s", err.text);
	assert_int_equal(out.gone, 0);
}

/*
 * What is removed has to be what was sealed, or what the record before says, byte for
 * byte: else no later record would follow from it. All messages may be good there.
 */
static void test_other_files(void **state)
{
	static const char *const names[] = { "segments/acme-000002.idx",
		"segments/acme-000002.tar.gz", "segments/acme-000002.r1.idx",
		"segments/acme-000002.r1.tar.gz" };
	size_t i, n;

	(void)state;
	for (i = 0; i < N_ELEMENTS(names); i++) {
		char *dir = sealed(ARCHIVE_GZ), *path, *text;

		if (i >= 2)
			must_dispose(dir, "8", 1);
		path = xasprintf("%s/%s", dir, names[i]);
		text = slurp(path, &n);
		text[i % 2 ? 4 : 0] ^= 1; /* the time in a gzip header; a name */
		assert_int_equal(chmod(path, 0600), 0);
		spit(path, text, n);
		refused(dir, "is not the file that was sealed");
		text[i % 2 ? 4 : 0] ^= 1;
		assert_int_equal(unlink(path), 0);
		refused(dir, "is missing");
		spit(path, text, n);
		must_dispose(dir, "7", 1);
		check_state(dir, ALL - 1 - i / 2, 1 + i / 2);
		free(text);
		free(path);
		remove_all(dir);
		free(dir);
	}
}

/* ---- dying ---- */

/* In a process of its own: steps are counted from its start. */
static int run(const char *dir, const char *word)
{
	struct archive_disposed out;
	struct err err = ERR_INIT;
	struct picked p;

	return dispose(dir, word, true, &out, &p, &err) == ST_OK ? 0 : 1;
}

/* Its exit code; -1: it died. */
static int die_at(const char *dir, const char *word, unsigned step)
{
	char at[16];
	pid_t pid;
	int st;

	snprintf(at, sizeof(at), "%u", step);
	pid = fork();
	if (pid == 0) {
		setenv("POPFERRY_CRASH_AT", at, 1);
		execl("/proc/self/exe", "t_dispose", "--run", dir, word, (char *)NULL);
		_exit(99);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &st, 0), pid);
	return WIFSIGNALED(st) ? -1 : WEXITSTATUS(st);
}

static void test_kills(void **state)
{
	static const unsigned gone[] = { 2, 7 };
	unsigned i, step;

	(void)state;
	for (i = 0; i < N_ELEMENTS(codecs); i++)
		for (step = 1; step < STEPS_MAX;
			step += (i ? 3 : 1) * (unsigned)stride_of(5)) {
			char *dir = sealed(codecs[i]);
			struct archive_reader *r = NULL;
			struct err err = ERR_INIT;
			struct archive_check c;
			int code = die_at(dir, "2 7", step);

			ok(archive_read(&r, dir, &err), &err);
			if (archive_verify(r, &c, print_bad, NULL, &err) != ST_OK)
				fail_msg(
					"%s, step %u: %s", suffixes[i], step, err.text);
			assert_int_equal(c.messages + c.gone, ALL);
			archive_done(&r);
			if (i == 0)
				assert_true(script(dir) != 65);
			must_dispose(dir, "2 7", (unsigned)(2 - c.gone));
			check_left(dir, gone, 2);
			check_state(dir, ALL - 2, 2);
			assert_false(exists(dir, "open/dispose.json"));
			remove_all(dir);
			free(dir);
			if (code == 0)
				break;
			assert_int_equal(code, -1);
		}
	assert_true(step > 10 && step < STEPS_MAX);
}

/* Who has opened the archive before is told to do so again, and of no damage. */
static void test_beside_a_reader(void **state)
{
	char *dir = sealed(ARCHIVE_GZ);
	struct archive_reader *r = NULL;
	struct archive_check c;
	struct err err = ERR_INIT;

	(void)state;
	ok(archive_read(&r, dir, &err), &err);
	must_dispose(dir, "7", 1);
	assert_true(archive_verify(r, &c, NULL, NULL, &err) < 0);
	assert_int_equal(err.exit, EX_TEMPFAIL);
	assert_true(archive_get(r, 8, drop_bytes, NULL, &err) < 0);
	assert_int_equal(err.exit, EX_TEMPFAIL);
	archive_done(&r);
	remove_all(dir);
	free(dir);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_take_out),
		cmocka_unit_test(test_nothing_left),
		cmocka_unit_test(test_not_found),
		cmocka_unit_test(test_other_files),
		cmocka_unit_test(test_kills),
		cmocka_unit_test(test_beside_a_reader),
	};

	if (argc == 4 && strcmp(argv[1], "--run") == 0)
		return run(argv[2], argv[3]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
