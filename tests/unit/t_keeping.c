/*
 * t_keeping.c: holds and retention: what must stay, for how long, and the records that
 * say so; and what is good in an archive after damage.
 */
#include "t_dispose.h"

#include <signal.h>
#include <sys/resource.h>

/* ---- holds and retention ---- */

static unsigned hold(const char *dir, const char *word, bool future)
{
	char *list[] = { (char *)(uintptr_t)word };
	const struct archive_holding h = { .matter = "Smith v. \"Jones\"\n",
		.words = list,
		.words_n = word ? 1 : 0,
		.future = future,
		.w = &words };
	struct archive_held held;
	struct err err = ERR_INIT;

	ok(archive_hold_place(dir, &h, &held, &err), &err);
	return held.no;
}

static void test_hold(void **state)
{
	char *dir = sealed(ARCHIVE_GZ);
	struct archive_disposed out;
	struct archive_keeping *k = NULL;
	struct archive_reader *r = NULL;
	const struct archive_hold *h;
	struct archive_writer *w;
	struct err err = ERR_INIT;
	struct picked p;
	uint64_t seq;
	unsigned no;
	size_t n;

	(void)state;
	assert_int_equal(hold(dir, "7", false), 1);
	no = hold(dir, "folder:Sent", true);
	ok(dispose(dir, "7-9", true, &out, &p, &err), &err);
	assert_int_equal(out.refused, 1);
	assert_int_equal(out.gone, 2);
	assert_int_equal(p.last.fate, ARCHIVE_FREE);
	/* What comes later is held by the words. */
	w = open_archive(dir, ARCHIVE_GZ, PER_SEGMENT);
	seq = put_one(w, spool, 21);
	assert_int_equal(seq, 15);
	ok(archive_seal(w, &err), &err);
	archive_close(&w);
	ok(dispose(dir, "15", true, &out, &p, &err), &err);
	assert_int_equal(out.refused, 1);
	assert_int_equal(p.last.hold, no);
	ok(archive_hold_release(dir, no, "settled", NULL, &err), &err);
	assert_int_equal(
		archive_hold_release(dir, no, "settled", NULL, &err), ST_DENIED);
	assert_int_equal(
		archive_hold_release(dir, 77, "settled", NULL, &err), ST_DENIED);
	ok(archive_read(&r, dir, &err), &err);
	ok(archive_keeping_load(&k, r, &words, &err), &err);
	h = archive_holds(k, &n);
	assert_int_equal(n, 2);
	assert_string_equal(h[0].matter, "Smith v. \"Jones\"\n");
	assert_string_equal(h[0].seqs, "7");
	assert_string_equal(h[1].reason, "settled");
	assert_true(h[1].future && h[1].released && !h[0].released);
	archive_keeping_free(&k);
	archive_done(&r);
	must_dispose(dir, "15", 1);
	assert_int_equal(script(dir), 0);
	check_state(dir, ALL + 1 - 3, 3);
	remove_all(dir);
	free(dir);
}

/* A record that is changed, or that is gone, is found; of holds too. */
static void test_record_lost(void **state)
{
	static const char *const names[] = { "policy/hold-000001.json",
		"policy/hold-000002.json", "policy/disposition-000001.json" };
	size_t i;

	(void)state;
	for (i = 0; i < 2 * N_ELEMENTS(names); i++) {
		char *dir = sealed(ARCHIVE_GZ),
		     *path = xasprintf("%s/%s", dir, names[i / 2]), *text;
		struct archive_reader *r = NULL;
		struct err err = ERR_INIT;
		struct archive_check c;
		size_t n;

		hold(dir, "1", false);
		hold(dir, "2", false);
		must_dispose(dir, "7", 1);
		text = slurp(path, &n);
		text[n / 2]++;
		unlink(path);
		if (i % 2)
			spit(path, text, n);
		free(text);
		ok(archive_read(&r, dir, &err), &err);
		assert_int_equal(archive_verify(r, &c, NULL, NULL, &err), ST_DENIED);
		assert_int_equal(err.exit, EX_DATAERR);
		archive_done(&r);
		remove_all(dir);
		free(path);
		free(dir);
	}
}

/* ---- no room ---- */

/* A record, written and no more, is none that one would write again. */
static void stands(const char *dir, const struct err *err)
{
	struct archive_keeping *k = NULL;
	struct archive_reader *r = NULL;
	struct archive_check c;
	struct err more = ERR_INIT;
	size_t n;

	assert_int_equal(err->exit, EX_IOERR);
	if (!strstr(err->text, "policy/hold-000001.json") ||
		!strstr(err->text, "stands"))
		fail_msg("not told: %s", err->text);
	ok(archive_read(&r, dir, &more), &more);
	ok(archive_keeping_load(&k, r, &words, &more), &more);
	archive_holds(k, &n);
	assert_int_equal(n, 1);
	archive_keeping_free(&k);
	ok(archive_verify(r, &c, print_bad, NULL, &more), &more);
	archive_done(&r);
	assert_int_equal(script(dir), 0);
}

/* So many more lines of manifest-sha256.txt that it is larger than the log. */
static void many_certificates(const char *dir)
{
	char *path = xasprintf("%s/trust", dir);
	unsigned i;

	assert_int_equal(mkdir(path, 0700), 0);
	for (i = 0; i < 40; i++) {
		free(path);
		path = xasprintf("%s/trust/signer-%u.pem", dir, i);
		spit(path, "x", 1);
	}
	free(path);
}

/* The record has room, and what tells of it has none: the log (0), or the list. */
static void test_no_room(void **state)
{
	struct rlimit old, small;
	unsigned k;

	(void)state;
	getrlimit(RLIMIT_FSIZE, &old);
	signal(SIGXFSZ, SIG_IGN);
	for (k = 0; k < 2; k++) {
		char *dir = sealed(ARCHIVE_GZ), *list[] = { (char *)(uintptr_t) "7" },
		     *file = xasprintf("%s/log/custody.jsonl", dir);
		const struct archive_holding h = {
			.matter = "x", .words = list, .words_n = 1, .w = &words
		};
		struct archive_held held;
		struct err err = ERR_INIT;
		struct stat st;

		assert_int_equal(stat(file, &st), 0);
		small = (struct rlimit){ (rlim_t)st.st_size + (k ? 1000 : 8),
			old.rlim_max };
		if (k)
			many_certificates(dir);
		setrlimit(RLIMIT_FSIZE, &small);
		assert_true(archive_hold_place(dir, &h, &held, &err) < 0);
		setrlimit(RLIMIT_FSIZE, &old);
		stands(dir, &err);
		/* Whoever comes next lists it. */
		err = (struct err)ERR_INIT;
		ok(archive_hold_release(dir, 1, "y", NULL, &err), &err);
		check_state(dir, ALL, 0);
		remove_all(dir);
		free(file);
		free(dir);
	}
}

enum { DAY = 86400, RETRIEVED = 1700000000, SEALED = 1700009999 };

static const struct {
	const char *name;
	struct archive_class c[2];
	const char *word; /* of c[1] */
	uint64_t seq;
	enum archive_fate fate;
	int64_t until; /* but for what is added by hours */
} terms[] = {
	{ "none", { { .name = NULL } }, NULL, 1, ARCHIVE_FREE, 0 },
	{ "days over", { { .name = "a", .days = 3 } }, NULL, 1, ARCHIVE_DUE,
		RETRIEVED + 3 * DAY },
	{ "days to come", { { .name = "a", .days = 36500 } }, NULL, 1, ARCHIVE_KEPT,
		RETRIEVED + INT64_C(36500) * DAY },
	{ "not before the seal before", { { .name = "a", .days = 3 } }, NULL, 12,
		ARCHIVE_DUE, SEALED + 3 * DAY },
	{ "from its date", { { .name = "a", .days = 3, .from_date = true } }, NULL, 1,
		ARCHIVE_DUE, 1704445200 + 3 * DAY },
	{ "until", { { .name = "a", .until = INT64_C(4000000000) } }, NULL, 1,
		ARCHIVE_KEPT, INT64_C(4000000000) },
	{ "the longest", { { .name = "a", .days = 3 }, { .name = "b", .years = 100 } },
		"1", 1, ARCHIVE_KEPT, 0 },
	{ "the longest, of what is chosen",
		{ { .name = "a", .days = 3 }, { .name = "b", .years = 100 } }, "2", 1,
		ARCHIVE_DUE, RETRIEVED + 3 * DAY },
	{ "a fallback falls back",
		{ { .name = "a", .years = 90, .fallback = true },
			{ .name = "b", .days = 3 } },
		"1", 1, ARCHIVE_DUE, RETRIEVED + 3 * DAY },
	{ "a fallback for the rest",
		{ { .name = "a", .years = 90, .fallback = true },
			{ .name = "b", .days = 3 } },
		"2", 1, ARCHIVE_KEPT, 0 },
};

static void test_retention(void **state)
{
	size_t i, k;

	(void)state;
	for (i = 0; i < N_ELEMENTS(terms); i++) {
		char *dir = sealed(ARCHIVE_GZ), word[16];
		char *list[] = { (char *)(uintptr_t)terms[i].word };
		struct archive_disposed out;
		struct err err = ERR_INIT;
		struct picked p;
		unsigned no;

		for (k = 0; k < 2 && terms[i].c[k].name; k++) {
			struct archive_class c = terms[i].c[k];

			c.words = k ? list : NULL;
			c.words_n = k;
			ok(archive_retention_set(dir, &c, &words, NULL, &no, &err),
				&err);
			assert_int_equal(no, k + 1);
		}
		snprintf(word, sizeof(word), "%" PRIu64, terms[i].seq);
		ok(dispose(dir, word, false, &out, &p, &err), &err);
		if (p.last.fate != terms[i].fate ||
			(terms[i].until &&
				(p.last.until < terms[i].until ||
					p.last.until > terms[i].until + 60)))
			fail_msg("%s: %d until %" PRId64, terms[i].name, p.last.fate,
				p.last.until);
		ok(dispose(dir, word, true, &out, &p, &err), &err);
		assert_int_equal(out.gone, terms[i].fate != ARCHIVE_KEPT);
		remove_all(dir);
		free(dir);
	}
}

/* To keep less takes somebody who says so. */
static void test_shorter(void **state)
{
	char *dir = sealed(ARCHIVE_GZ);
	struct archive_class c = { .name = "six \"years\"", .years = 6 };
	struct archive_keeping *k = NULL;
	struct archive_reader *r = NULL;
	const struct archive_class *is;
	struct err err = ERR_INIT;
	unsigned no;
	size_t n;

	(void)state;
	ok(archive_retention_set(dir, &c, &words, NULL, &no, &err), &err);
	c.years = 7;
	ok(archive_retention_set(dir, &c, &words, NULL, &no, &err), &err);
	c.years = 5;
	assert_int_equal(
		archive_retention_set(dir, &c, &words, NULL, &no, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_USAGE);
	c.authority = "the board";
	ok(archive_retention_set(dir, &c, &words, NULL, &no, &err), &err);
	assert_int_equal(no, 3);
	ok(archive_read(&r, dir, &err), &err);
	ok(archive_keeping_load(&k, r, &words, &err), &err);
	is = archive_classes(k, &n);
	assert_int_equal(n, 1);
	assert_string_equal(is->name, c.name);
	assert_int_equal(is->years, 5);
	archive_keeping_free(&k);
	archive_done(&r);
	check_state(dir, ALL, 0);
	remove_all(dir);
	free(dir);
}

/* ---- after damage ---- */

struct losses {
	unsigned runs;
	uint64_t first, last;
};

static void lose(void *ctx, uint64_t first, uint64_t last, const char *why)
{
	struct losses *l = ctx;

	(void)why;
	if (l->runs++ == 0)
		l->first = first;
	l->last = last;
}

static void test_recover(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < 2 * N_ELEMENTS(codecs); i++) {
		char *dir = sealed(codecs[i / 2]), before[65], after[65];
		char *idx = xasprintf("%s/segments/acme-000002.idx", dir);
		struct archive_recovery out;
		struct losses l = { 0 };
		struct err err = ERR_INIT;

		file_sha(dir, "segments/acme-000002.idx", before);
		unlink(idx);
		if (i % 2)
			spit(idx, "rubbish", 7);
		ok(archive_recover(dir, NULL, &out, lose, &l, &err), &err);
		file_sha(dir, "segments/acme-000002.idx", after);
		assert_string_equal(before, after);
		assert_int_equal(out.indexes, 1);
		assert_int_equal(out.good, ALL);
		check_state(dir, ALL, 0);
		remove_all(dir);
		free(dir);
		free(idx);
	}
}

static void test_recover_lost(void **state)
{
	char *dir = sealed(ARCHIVE_GZ),
	     *path = xasprintf("%s/segments/acme-000002.tar.gz", dir), *text;
	struct archive_recovery out;
	struct losses l = { 0 };
	struct err err = ERR_INIT;
	size_t n;

	(void)state;
	text = slurp(path, &n);
	text[n / 4]++;
	spit(path, text, n);
	free(text);
	assert_int_equal(archive_recover(dir, NULL, &out, lose, &l, &err), ST_DENIED);
	assert_int_equal(err.exit, EX_DATAERR);
	assert_int_equal(out.good + out.lost, ALL);
	assert_true(out.lost > 0 && l.first >= 6 && l.last <= 10);
	/* A damaged segment is not written anew. */
	{
		struct archive_disposed gone;
		struct picked p;

		assert_int_equal(dispose(dir, "10", true, &gone, &p, &err), ST_DENIED);
		assert_int_equal(err.exit, EX_DATAERR);
		assert_int_equal(gone.gone, 0);
	}
	remove_all(dir);
	free(path);
	free(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hold),
		cmocka_unit_test(test_record_lost),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_retention),
		cmocka_unit_test(test_shorter),
		cmocka_unit_test(test_recover),
		cmocka_unit_test(test_recover_lost),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
