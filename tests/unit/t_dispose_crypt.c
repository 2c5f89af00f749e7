/*
 * t_dispose_crypt.c: messages that are taken out of an encrypted archive: all else is
 * as it was, for who has a key and for who has none, at whatever step it was killed;
 * and nothing was in clear meanwhile.
 */
#include "t_closed.h"

#include "stride.h"

enum { STEPS_MAX = 100 };

static const char *const ext[] = { "", ".age", ".p7m" };

/* ---- taking out ---- */

static void test_take_out(void **state)
{
	static const unsigned all[] = { 1, 6, 7, 8, 14 };
	unsigned kind;
	size_t i;

	(void)state;
	for (i = 0; i < 2 * N_ELEMENTS(codecs); i += (size_t)stride_of(3)) {
		struct archive_disposed out;
		struct err err = ERR_INIT;
		struct closed c;
		struct picked p;
		char *name;

		kind = i % 2;
		closed_open(&c, codecs[i / 2], kind);
		/* Nobody else takes anything out. */
		read_as(&c, NULL);
		assert_int_equal(dispose(c.at, "7", true, &out, &p, &err), ST_DENIED);
		assert_int_equal(err.exit, EX_NOPERM);
		read_as(&c, keys.other);
		assert_int_equal(dispose(c.at, "7", true, &out, &p, &err), ST_DENIED);
		assert_int_equal(err.exit, EX_NOPERM);
		check_keyless(c.at, ALL, 0);
		read_as(&c, keys.key[kind][0]);
		must_dispose(c.at, "7", 1);
		name = xasprintf("segments/acme-000002.r1.%s%s", suffixes[i / 2],
			ext[kinds[kind]]);
		assert_true(exists(c.at, name));
		free(name);
		name = xasprintf(
			"segments/acme-000002.%s%s", suffixes[i / 2], ext[kinds[kind]]);
		assert_false(exists(c.at, name));
		free(name);
		name = xasprintf("segments/acme-000002.idx%s", ext[kinds[kind]]);
		assert_false(exists(c.at, name));
		free(name);
		assert_false(exists(c.at, "open/dispose.json"));
		check_keyless(c.at, ALL - 1, 1);
		must_dispose(c.at, "6-8", 2);
		must_dispose(c.at, "1", 1);
		must_dispose(c.at, "14", 1);
		must_dispose(c.at, "1", 0);
		check_left(c.at, all, N_ELEMENTS(all));
		check_state(c.at, ALL - 5, 5);
		/* It is encrypted to the other one, too. */
		read_as(&c, keys.key[kind][1]);
		check_left(c.at, all, N_ELEMENTS(all));
		check_state(c.at, ALL - 5, 5);
		check_keyless(c.at, ALL - 5, 5);
		not_in(c.at, "court order", 11);
		closed_drop(&c);
	}
}

/* The job that writes knows it no more, and all others still; it needs no key for
 * that. */
static void test_not_found(void **state)
{
	struct archive_writer *w;
	struct err err = ERR_INIT;
	struct closed c;
	unsigned i;

	(void)state;
	closed_open(&c, ARCHIVE_GZ, 0);
	must_dispose(c.at, "7", 1);
	for (i = 0; i < 2; i++) {
		unsigned k;

		w = open_crypt(c.at, c.st, ARCHIVE_GZ, NULL);
		for (k = 0; k < ALL; k++)
			assert_int_equal(find_one(w, spool, k), k == 6 ? 0 : k + 1);
		archive_close(&w);
	}
	w = open_crypt(c.at, c.st, ARCHIVE_GZ, NULL);
	assert_int_equal(put_one(w, spool, 20), ALL + 1);
	ok(archive_seal(w, &err), &err);
	archive_close(&w);
	must_dispose(c.at, "15", 1);
	check_state(c.at, ALL - 1, 2);
	check_keyless(c.at, ALL - 1, 2);
	closed_drop(&c);
}

/* What is held stays, whoever has the key. */
static void test_held(void **state)
{
	const struct archive_holding h = { .matter = "x", .w = &words };
	struct archive_disposed out;
	struct archive_held held;
	struct err err = ERR_INIT;
	struct closed c;
	struct picked p;

	(void)state;
	closed_open(&c, ARCHIVE_GZ, 1);
	must_dispose(c.at, "7", 1);
	ok(archive_hold_place(c.at, &h, &held, &err), &err);
	assert_int_equal(held.n, ALL - 1);
	ok(dispose(c.at, "1-9", true, &out, &p, &err), &err);
	assert_int_equal(out.gone, 0);
	assert_int_equal(out.refused, 8);
	closed_drop(&c);
}

/* ---- who can write to the archive ---- */

/* Whom it is encrypted to is what its seals tell of; and a damaged segment stays as it
 * is. */
static void test_hostile(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < 3; i++) {
		static const char *const names[] = { "archive.json",
			"segments/acme-000002.tar.gz.age", "recipients.pem" };
		struct archive_disposed out;
		struct err err = ERR_INIT;
		struct closed c;
		struct picked p;
		char *path, *text, *at;
		size_t n;

		closed_open(&c, ARCHIVE_GZ, i == 2);
		path = xasprintf("%s/%s", c.at, names[i]);
		text = slurp(path, &n);
		if (i == 0) {
			at = strstr(text, keys.to[0][1]);
			assert_non_null(at);
			memcpy(at, keys.other_to, strlen(keys.other_to));
		} else if (i == 1) {
			text[n / 2] ^= 1;
		} else {
			/* One of the two alone. */
			at = strstr(text, "-----END");
			assert_non_null(at);
			n = (size_t)(strchr(at, '\n') + 1 - text);
		}
		spit(path, text, n);
		assert_int_equal(dispose(c.at, "7", true, &out, &p, &err), ST_DENIED);
		assert_int_equal(err.exit, EX_DATAERR);
		assert_int_equal(out.gone, 0);
		assert_false(exists(c.at, "policy/disposition-000001.json"));
		free(path);
		free(text);
		closed_drop(&c);
	}
}

/* ---- dying ---- */

/* In a process of its own: steps are counted from its start. */
static int run(const char *dir, const char *key, const char *word)
{
	struct archive_disposed out;
	struct identities *ids;
	struct err err = ERR_INIT;
	struct picked p;
	enum status rc;

	identities_open(&ids);
	rc = identities_add(ids, key, NULL, NULL, &err);
	readers = ids;
	if (rc == ST_OK)
		rc = dispose(dir, word, true, &out, &p, &err);
	identities_close(&ids);
	if (rc != ST_OK)
		fprintf(stderr, "run: %s\n", err.text);
	return rc == ST_OK ? 0 : 1;
}

/* Its exit code; -1: it died. */
static int die_at(const char *dir, const char *key, const char *word, unsigned step)
{
	char at[16];
	pid_t pid;
	int st;

	snprintf(at, sizeof(at), "%u", step);
	pid = fork();
	if (pid == 0) {
		setenv("POPFERRY_CRASH_AT", at, 1);
		execl("/proc/self/exe", "t_dispose_crypt", "--run", dir, key, word,
			(char *)NULL);
		_exit(99);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &st, 0), pid);
	return WIFSIGNALED(st) ? -1 : WEXITSTATUS(st);
}

/* What is in the new segment, by the record: "new" stands before "old". */
static void plain_sum(const char *dir, unsigned no, char out[65])
{
	static const char key[] = "\"plain_sha256\":\"";
	char *path = xasprintf("%s/policy/disposition-%06u.json", dir, no), *text, *at;
	size_t n;

	text = slurp(path, &n);
	at = strstr(text, "\"new\":{");
	assert_non_null(at);
	at = strstr(at, key);
	assert_non_null(at);
	snprintf(out, 65, "%.64s", at + strlen(key));
	free(text);
	free(path);
}

/* At any moment of it: what is there is good, for who has a key and for who has
 * none. */
static unsigned check_between(const struct closed *c, unsigned step)
{
	const struct archive_access keyless = { .closed = true },
				    access = { .identities = c->ids };
	struct archive_reader *r = NULL;
	struct err err = ERR_INIT;
	struct archive_check with, without;

	ok(archive_read_as(&r, c->at, &access, &err), &err);
	if (archive_verify(r, &with, print_bad, NULL, &err) != ST_OK)
		fail_msg("step %u: %s", step, err.text);
	assert_int_equal(with.messages + with.gone, ALL);
	archive_done(&r);
	ok(archive_read_as(&r, c->at, &keyless, &err), &err);
	if (archive_verify(r, &without, print_bad, NULL, &err) != ST_OK)
		fail_msg("without a key, step %u: %s", step, err.text);
	assert_int_equal(without.closed_messages + without.gone, ALL);
	archive_done(&r);
	if (step % 5 == 0)
		assert_true(script(c->at) != 65);
	/* Of no message, nor of its headers, nor of a table. */
	not_in(c->dir, "example.org>", 12);
	not_in(c->dir, "Subject: caf", 12);
	not_in(c->dir, "popferry-tombstone", 18);
	not_in(c->dir, "BagIt-Version: 1.0", 18);
	return (unsigned)with.gone;
}

static void kills(enum archive_codec codec, unsigned kind, unsigned stride)
{
	static const unsigned gone[] = { 2, 7 };
	char want[2][65] = { "", "" };
	unsigned step = 0, turn = 0, i;
	int code = -1;

	for (; code != 0 && step < STEPS_MAX; step += step ? stride : 1) {
		struct archive_writer *w;
		struct closed c;
		unsigned left;

		closed_open(&c, codec, kind);
		/* The first one is not disturbed. */
		if (step)
			code = die_at(c.at, keys.key[kind][0], "2 7", step);
		else
			must_dispose(c.at, "2 7", 2);
		left = 2 - check_between(&c, step);
		/* Who goes on: a run, which has no key; or the next disposal. */
		if (turn++ % 2) {
			w = open_crypt(c.at, c.st, codec, NULL);
			archive_close(&w);
			assert_false(exists(c.at, "open/dispose.json"));
			assert_int_equal(2 - check_between(&c, step), left);
		}
		must_dispose(c.at, "2 7", left);
		check_left(c.at, gone, 2);
		check_state(c.at, ALL - 2, 2);
		assert_false(exists(c.at, "open/dispose.json"));
		for (i = 0; i < 2; i++) {
			char is[65];

			plain_sum(c.at, i + 1, is);
			if (step == 0)
				memcpy(want[i], is, sizeof(is));
			assert_string_equal(is, want[i]);
		}
		closed_drop(&c);
		if (step)
			assert_true(code == 0 || code == -1);
	}
	assert_int_equal(code, 0);
	assert_true(step > 10);
}

static void test_kills(void **state)
{
	(void)state;
	kills(ARCHIVE_GZ, 0, 2 * (unsigned)stride_of(5));
	kills(ARCHIVE_ZIP, 1, 7 * (unsigned)stride_of(4));
	kills(ARCHIVE_NONE, 0, 5 * (unsigned)stride_of(4));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_take_out),
		cmocka_unit_test(test_not_found),
		cmocka_unit_test(test_held),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_kills),
	};

	if (argc == 5 && strcmp(argv[1], "--run") == 0)
		return run(argv[2], argv[3], argv[4]);
	return cmocka_run_group_tests(tests, begin, end);
}
