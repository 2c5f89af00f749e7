/* t_journal_place.c: duplicates, places, runs and failures in the journal. */
#include "journal_kit.h"

#include <popferry/clock.h>

/* ---- candidates ---- */

static void test_candidates(void **state)
{
	/* States of sinks 0 and 1 for each row: n none, i storing, s stored. */
	static const char *const rows[] = { "ss", "nn", "si", "is", "sn", "ii", "ns" };
	static const struct {
		unsigned sinks;
		const char *rows;
	} want[] = {
		{ 0, "0123456" },
		{ 1, "02345" },
		{ 2, "02356" },
		{ 3, "0235" },
		{ 4, "" },
	};
	struct journal *j = open_it();
	struct facts f = facts_of(1);
	struct place floor = { 7, 1 }, at = { 7, 0 };
	int64_t id[N_ELEMENTS(rows)], dup;
	char name[8];
	size_t i, k, way;

	(void)state;
	sink(j, "a");
	sink(j, "b");
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		snprintf(name, sizeof(name), "%zu", i);
		id[i] = take(j, name, 1);
		for (k = 0; k < 2; k++) {
			at.number = 10 + i;
			if (rows[i][k] != 'n')
				OK(journal_storing(j, id[i], (unsigned)k, "INBOX",
					&floor, 1, &err));
			if (rows[i][k] == 's')
				OK(journal_stored(
					j, id[i], (unsigned)k, &at, NULL, &err));
		}
	}
	/* None of these is one: another state, another message. */
	dup = take(j, "dup", 1);
	OK(journal_duplicate(j, dup, id[0], "r", &err));
	failed(j, "failed", &f);
	take(j, "other", 2);
	/* It could not be had again, and is there all the same. */
	failed(j, "0", NULL);
	for (way = 0; way < 2; way++)
		for (i = 0; i < N_ELEMENTS(want); i++) {
			struct seen s = { .n = 0 };

			OK(journal_candidates(j, want[i].sinks, f.msgid,
				way ? f.exact : NULL, see, &s, &err));
			assert_int_equal(s.n, strlen(want[i].rows));
			for (k = 0; k < s.n; k++) {
				unsigned r = (unsigned)(want[i].rows[k] - '0');

				assert_int_equal(s.id[k], id[r]);
				assert_int_equal(s.stored[k],
					(rows[r][0] == 's') | (rows[r][1] == 's') << 1);
				assert_int_equal(s.storing[k],
					(rows[r][0] == 'i') | (rows[r][1] == 'i') << 1);
			}
		}
	journal_close(&j);
}

static void test_candidates_stop(void **state)
{
	static const enum status with[] = { ST_END, ST_SKIP, ST_FATAL };
	struct journal *j = open_it();
	struct facts f = facts_of(1);
	size_t i;

	(void)state;
	take(j, "a", 1);
	take(j, "b", 1);
	for (i = 0; i < N_ELEMENTS(with); i++) {
		struct seen s = { .stop_after = 1, .with = with[i] };

		assert_int_equal(journal_candidates(j, 0, f.msgid, NULL, see, &s, &err),
			with[i] == ST_END ? ST_OK : with[i]);
		assert_int_equal(s.n, 1);
	}
	/* Messages without a Message-ID are no candidates by it. */
	f = facts_of(5);
	f.has_msgid = false;
	{
		struct journal_key k = key_of("n", 0, 1);
		struct seen s = { .n = 0 };
		int64_t id;

		OK(journal_take(j, &k, &f, 0, &id, &err));
		assert_false(get(j, id).has_msgid);
		OK(journal_candidates(j, 0, f.msgid, NULL, see, &s, &err));
		assert_int_equal(s.n, 0);
		OK(journal_candidates(j, 0, NULL, f.exact, see, &s, &err));
		assert_int_equal(s.n, 1);
	}
	journal_close(&j);
}

/* ---- places ---- */

static void test_doubt(void **state)
{
	struct journal *j = open_it();
	unsigned k = sink(j, "a");
	int64_t id = take(j, "u", 1), since = 0;
	struct place floor = { UINT64_MAX, UINT64_MAX - 1 }, later = { 3, 9 }, got;
	char *folder = NULL;

	(void)state;
	assert_int_equal(journal_doubt(j, id, k, &got, &folder, &since, &err), ST_END);
	OK(journal_storing(j, id, k, "Sent/\xc3\xa4", &floor, 1000, &err));
	reopen(&j);
	assert_int_equal(get(j, id).storing, 1);
	assert_int_equal(totals(j).storing, 1);
	/* The older floor stays. */
	OK(journal_storing(j, id, k, "Sent/\xc3\xa4", &later, 2000, &err));
	OK(journal_doubt(j, id, k, &got, &folder, &since, &err));
	assert_true(got.generation == UINT64_MAX && got.number == UINT64_MAX - 1);
	assert_string_equal(folder, "Sent/\xc3\xa4");
	assert_int_equal(since, 1000);
	free(folder);
	/* In another folder it says nothing. */
	OK(journal_storing(j, id, k, "INBOX", &later, 3000, &err));
	OK(journal_doubt(j, id, k, &got, &folder, &since, &err));
	assert_true(got.generation == 3 && got.number == 9);
	assert_string_equal(folder, "INBOX");
	assert_int_equal(since, 3000);
	free(folder);

	OK(journal_not_stored(j, id, k, &err));
	OK(journal_not_stored(j, id, k, &err));
	reopen(&j);
	assert_int_equal(journal_doubt(j, id, k, &got, &folder, &since, &err), ST_END);
	assert_int_equal(get(j, id).storing, 0);
	store(j, id, k, 5);
	assert_int_equal(journal_doubt(j, id, k, &got, &folder, &since, &err), ST_END);
	assert_int_equal(journal_storing(j, id, k, "INBOX", &floor, 1, &err), ST_FATAL);
	assert_int_equal(err.exit, EX_SOFTWARE);
	assert_int_equal(get(j, id).stored, 1);
	journal_close(&j);
}

static void add_place(
	void *ctx, const struct place *at, const unsigned char exact[DIGEST])
{
	char *s = ctx;

	(void)exact;
	snprintf(s + strlen(s), 200 - strlen(s), "%llu:%llu ",
		(unsigned long long)at->generation, (unsigned long long)at->number);
}

static void test_places(void **state)
{
	struct journal *j = open_it();
	struct facts f = facts_of(7);
	unsigned a = sink(j, "a"), b = sink(j, "b");
	struct place floor = { 7, 1 }, at = { 6, 99 };
	int64_t id = 0, first;
	char text[200] = "";
	unsigned i;

	(void)state;
	first = take(j, "0", 1);
	store(j, first, a, 30);
	for (i = 1; i < 5; i++) {
		char name[8];

		snprintf(name, sizeof(name), "%u", i);
		id = take(j, name, i + 1);
		store(j, id, a, 30 - i);
		store(j, id, b, 30 - i); /* the same number in another sink */
	}
	id = take(j, "storing", 6);
	OK(journal_storing(j, id, a, "INBOX", &floor, 1, &err));
	id = take(j, "unknown", 7);
	store(j, id, a, 0);
	id = take(j, "unknown too", 8);
	store(j, id, a, 0);
	id = take(j, "old", 9);
	OK(journal_storing(j, id, a, "INBOX", &floor, 1, &err));
	OK(journal_stored(j, id, a, &at, f.sha256, &err));
	id = take(j, "else", 10);
	OK(journal_storing(j, id, a, "Else", &floor, 1, &err));
	at.generation = 7, at.number = 30;
	OK(journal_stored(j, id, a, &at, NULL, &err));
	reopen(&j);
	OK(journal_places(j, a, "INBOX", add_place, text, &err));
	assert_string_equal(text, "6:99 7:26 7:27 7:28 7:29 7:30 ");
	text[0] = '\0';
	OK(journal_places(j, a, "Else", add_place, text, &err));
	assert_string_equal(text, "7:30 ");
	text[0] = '\0';
	OK(journal_places(j, a, "None", add_place, text, &err));
	assert_string_equal(text, "");
	OK(journal_places(j, a, NULL, add_place, text, &err));
	assert_string_equal(text, "6:99 7:26 7:27 7:28 7:29 7:30 7:30 ");
	/* The same again is no second claim, and a place may be corrected. */
	OK(journal_stored(j, first, a, &at, NULL, &err));
	at.number = 31;
	OK(journal_stored(j, first, a, &at, NULL, &err));
	journal_close(&j);
}

static void test_two_claims(void **state)
{
	struct journal *j = open_it();
	unsigned k = sink(j, "a");
	int64_t a = take(j, "a", 1), b = take(j, "b", 2);
	struct place at = { 7, 42 };

	(void)state;
	store(j, a, k, 42);
	assert_int_equal(journal_stored(j, b, k, &at, NULL, &err), ST_FATAL);
	assert_int_equal(err.exit, EX_SOFTWARE);
	assert_non_null(strstr(err.text, "not announced"));
	OK(journal_begin(j, &err));
	OK(journal_storing(j, b, k, "INBOX", &at, 1, &err));
	assert_int_equal(journal_stored(j, b, k, &at, NULL, &err), ST_FATAL);
	assert_int_equal(err.exit, EX_SOFTWARE);
	assert_non_null(strstr(err.text, "two messages claim"));
	assert_non_null(strstr(err.text, "INBOX"));
	/* Nothing of a transaction in which something failed is kept. */
	assert_int_equal(journal_commit(j, &err), ST_FATAL);
	assert_int_equal(get(j, b).storing, 0);
	assert_int_equal(get(j, a).stored, 1);
	/* Unknown messages and sinks. */
	assert_int_equal(journal_storing(j, 99, k, "INBOX", &at, 1, &err), ST_FATAL);
	assert_int_equal(err.exit, EX_SOFTWARE);
	assert_int_equal(journal_storing(j, b, 5, "INBOX", &at, 1, &err), ST_FATAL);
	assert_int_equal(err.exit, EX_SOFTWARE);
	journal_close(&j);
}

/* ---- runs ---- */

static void test_ledger(void **state)
{
	static const struct {
		struct ledger l;
		bool ok;
	} rows[] = {
		{ { 0 }, true },
		{ { .listed = 28,
			  .known = 1,
			  .stored = 2,
			  .duplicate = 3,
			  .filtered = 4,
			  .failed = 5,
			  .vanished = 6,
			  .left = 7,
			  .bytes = 99 },
			true },
		{ { .listed = 1 }, false },
		{ { .known = 1 }, false },
		{ { .listed = 1, .left = 1 }, true },
		{ { .listed = 1, .bytes = 1 }, false },
		{ { .listed = 2, .stored = 1, .failed = 1 }, true },
		{ { .listed = 2, .stored = 2, .duplicate = 1 }, false },
	};
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++)
		assert_int_equal(ledger_balances(&rows[i].l), rows[i].ok);
}

static void test_runs(void **state)
{
	static const struct ledger l = { 28, 1, 2, 3, 4, 5, 6, 7, 1ULL << 40, 8, 9 };
	struct journal *j = open_it();
	struct journal_run run;
	int64_t a, b;

	(void)state;
	assert_int_equal(journal_last_run(j, &run, &err), ST_END);
	OK(journal_run_begin(j, 1000, &a, &err));
	OK(journal_run_begin(j, 2000, &b, &err));
	assert_true(b > a);
	OK(journal_last_run(j, &run, &err));
	assert_int_equal(run.id, b);
	assert_int_equal(run.started, 2000);
	assert_int_equal(run.finished, 0);
	assert_string_equal(run.reason, "");
	/* A run that ends by an error in a transaction is noted all the same. */
	OK(journal_begin(j, &err));
	take(j, "undone", 1);
	OK(journal_run_end(j, b, 3000, &l, EX_TEMPFAIL, "busy\r\nmailbox", &err));
	reopen(&j);
	OK(journal_last_run(j, &run, &err));
	assert_int_equal(run.finished, 3000);
	assert_int_equal(run.exit, EX_TEMPFAIL);
	assert_string_equal(run.reason, "busy\\x0d\\x0amailbox");
	assert_memory_equal(&run.ledger, &l, sizeof(l));
	assert_int_equal(totals(j).messages, 0);
	assert_int_equal(journal_run_end(j, 99, 1, &l, 0, NULL, &err), ST_FATAL);
	assert_int_equal(err.exit, EX_SOFTWARE);
	journal_close(&j);
}

static void test_totals(void **state)
{
	struct journal *j = open_it();
	unsigned a = sink(j, "a"), b = sink(j, "b");
	struct place floor = { 1, 1 };
	struct journal_totals t = totals(j);
	struct facts f = facts_of(20);
	int64_t id;

	(void)state;
	assert_int_equal(t.messages + t.stored + t.storing + t.failed + t.bytes, 0);
	store(j, take(j, "1", 1), a, 1);
	id = take(j, "2", 2);
	store(j, id, a, 2);
	store(j, id, b, 2);
	id = take(j, "3", 3);
	store(j, id, a, 3);
	OK(journal_storing(j, id, b, "INBOX", &floor, 1, &err));
	OK(journal_duplicate(j, take(j, "4", 4), id, "r", &err));
	OK(journal_filtered(j, take(j, "5", 5), "r", &err));
	failed(j, "6", &f);
	failed(j, "7", NULL);
	take(j, "8", 8); /* not on its way yet */
	t = totals(j);
	assert_int_equal(t.messages, 8);
	assert_int_equal(t.stored, 2);
	assert_int_equal(t.storing, 1);
	assert_int_equal(t.duplicate, 1);
	assert_int_equal(t.filtered, 1);
	assert_int_equal(t.failed, 2);
	assert_int_equal(t.bytes, 1001 + 1002);
	journal_close(&j);
}

static void add_failure(void *ctx, const struct journal_failure *f)
{
	char *s = ctx;

	assert_true(f->at > 1600000000 && f->at <= clock_utc());
	snprintf(s + strlen(s), 1000 - strlen(s), "%.*s#%u %lld %s|%s|%s|%s|%s %u\n",
		(int)f->uidl_n, f->uidl ? f->uidl : "-", f->number, (long long)f->size,
		f->message_id, f->subject, f->stage, f->reason, f->reply, f->tries);
}

static void assert_failures(struct journal *j, int64_t run, const char *want)
{
	char got[1000] = "";

	OK(journal_failures(j, run, add_failure, got, &err));
	assert_string_equal(got, want);
}

static void test_failures(void **state)
{
	struct journal *j = open_it();
	struct facts f = facts_of(1);
	int64_t one, two;

	(void)state;
	f.message_id = xstrdup("<a@b>\x1b[2J");
	f.subject = xstrdup("Hi\r\nX: y");
	assert_failures(j, 0, "");
	OK(journal_run_begin(j, 1, &one, &err));
	failed(j, "u", &f);
	failed(j, "v", NULL);
	failed(j, NULL, NULL);
	assert_failures(j, one,
		"u#12 1001 <a@b>\\x1b[2J|Hi\\x0d\\x0aX: y|store|it broke|NO\\x0d\\x0a 1\n"
		"v#12 -1 ||store|it broke|NO\\x0d\\x0a 1\n"
		"#12 -1 ||store|it broke|NO\\x0d\\x0a 1\n");
	assert_int_equal(totals(j).failed, 3);
	assert_int_equal(totals(j).messages, 3);
	/* It worked after all, in the same run. */
	take(j, "v", 2);
	/* Once a run, however often it was tried. */
	failed(j, "u", &f);
	assert_failures(j, one,
		"u#12 1001 <a@b>\\x1b[2J|Hi\\x0d\\x0aX: y|store|it broke|NO\\x0d\\x0a 2\n"
		"#12 -1 ||store|it broke|NO\\x0d\\x0a 1\n");

	OK(journal_run_begin(j, 2, &two, &err));
	assert_failures(j, two, "");
	assert_failures(j, 0,
		"u#12 1001 <a@b>\\x1b[2J|Hi\\x0d\\x0aX: y|store|it broke|NO\\x0d\\x0a 2\n");
	failed(j, "u", NULL);
	failed(j, "w", NULL);
	reopen(&j);
	assert_failures(j, two,
		"u#12 -1 ||store|it broke|NO\\x0d\\x0a 3\n"
		"w#12 -1 ||store|it broke|NO\\x0d\\x0a 1\n");
	assert_failures(j, 0,
		"u#12 -1 ||store|it broke|NO\\x0d\\x0a 3\n"
		"w#12 -1 ||store|it broke|NO\\x0d\\x0a 1\n");
	/* Of an earlier run it stays known what failed in it. */
	take(j, "u", 1);
	assert_failures(j, 0, "w#12 -1 ||store|it broke|NO\\x0d\\x0a 1\n");
	assert_failures(j, one,
		"u#12 1001 <a@b>\\x1b[2J|Hi\\x0d\\x0aX: y|store|it broke|NO\\x0d\\x0a 2\n"
		"#12 -1 ||store|it broke|NO\\x0d\\x0a 1\n");
	journal_close(&j);
	free(f.message_id);
	free(f.subject);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_candidates),
		TEST(test_candidates_stop),
		TEST(test_doubt),
		TEST(test_places),
		TEST(test_two_claims),
		TEST(test_ledger),
		TEST(test_runs),
		TEST(test_totals),
		TEST(test_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
