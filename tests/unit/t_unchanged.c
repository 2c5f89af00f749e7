/* t_unchanged.c: a run that finds what the last one found need not ask the journal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_kit.h"

#include <popferry/journal.h>
#include <sqlite3.h>

struct way {
	const char *name;
	const char *options;         /* of all runs */
	void (*then)(struct rig *r); /* before the last */
	const char *last;            /* its options, where they are others */
	unsigned runs;               /* before that */
	unsigned fetches; /* in the last one, which is 0 if it does not ask */
};

/* By somebody who does not say so. */
static void meddle(struct rig *r, const char *sql)
{
	char path[300];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/journal.sqlite", r->state);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void one_more(struct rig *r)
{
	kit_mail(r, "abcd");
}

static void one_less(struct rig *r)
{
	kit_mail(r, "ab");
}

/* As many, and all names as long as before. */
static void others(struct rig *r)
{
	kit_mail(r, "abd");
}

static void another_size(struct rig *r)
{
	fakepop_empty(r->pop);
	fakepop_add(r->pop, "u1", kit_text(r, 'a'));
	fakepop_add(r->pop, "u2", kit_text(r, 'b'));
	fakepop_add(r->pop, "u3", kit_text(r, 'f'));
}

static void one_more_for_a_run(struct rig *r)
{
	one_more(r);
	assert_int_equal(kit_run(r, NULL), 0);
	kit_mail(r, "abc");
}

static void opened_to_write(struct rig *r)
{
	int dir = open(r->state, O_RDONLY | O_DIRECTORY);
	struct journal *j;
	struct err err = ERR_INIT;

	assert_int_equal(journal_open(&j, dir, NULL, false, &err), ST_OK);
	assert_non_null(journal_unchanged(j));
	journal_close(&j);
	close(dir);
}

static void opened_to_read(struct rig *r)
{
	int dir = open(r->state, O_RDONLY | O_DIRECTORY);
	struct journal *j;
	struct err err = ERR_INIT;

	assert_int_equal(journal_open(&j, dir, NULL, true, &err), ST_OK);
	assert_non_null(journal_unchanged(j));
	journal_close(&j);
	close(dir);
}

static const struct way ways[] = {
	{ "nothing new, twice", NULL, NULL, NULL, 2, 0 },
	{ "nothing new, often", NULL, NULL, NULL, 5, 0 },
	{ "to an archive", "only-archive", NULL, NULL, 2, 0 },
	{ "read meanwhile", NULL, opened_to_read, NULL, 2, 0 },
	{ "a dry run", NULL, NULL, "dry-run=yes", 2, 0 },
	{ "nothing new, for the first time", NULL, NULL, NULL, 1, 1 },
	{ "one message more", NULL, one_more, NULL, 2, 2 },
	{ "one message less", NULL, one_less, NULL, 2, 1 },
	{ "another message", NULL, others, NULL, 2, 2 },
	{ "a message of another size", NULL, another_size, NULL, 2, 2 },
	{ "one more, and gone again", NULL, one_more_for_a_run, NULL, 2, 1 },
	{ "written meanwhile", NULL, opened_to_write, NULL, 2, 1 },
	{ "another destination", NULL, NULL, "archive", 2, 3 },
	{ "equal messages are kept", "dedup=none", NULL, NULL, 2, 1 },
	{ "equal messages are kept now", NULL, NULL, "dedup=none", 2, 1 },
	{ "to be read back", NULL, NULL, "check=yes", 2, 1 },
	{ "to be deleted", NULL, NULL, "delete=verified:9d", 2, 1 },
};

/* The journal is spoilt behind its back: who asks it must fetch message 2 again. */
static void test_way(void **state)
{
	const struct way *w = *state;
	struct rig *r;
	unsigned i, before, fetched;
	bool dry = w->last && strncmp(w->last, "dry", 3) == 0;

	kit_open(&r);
	kit_mail(r, "abc");
	for (i = 0; i < w->runs; i++)
		assert_int_equal(kit_run(r, w->options), 0);
	if (w->then)
		w->then(r);
	meddle(r, "UPDATE place SET state = 1 WHERE message = 2");
	before = fakepop_count(r->pop, "RETR");
	assert_int_equal(kit_run(r, w->last ? w->last : w->options), 0);
	fetched = fakepop_count(r->pop, "RETR") - before;
	if (dry)
		assert_int_equal(r->out.plan.todo, 0);
	if (fetched != w->fetches)
		fail_msg("%s: RETR was said %u times", w->name, fetched);
	kit_close(&r);
}

int main(void)
{
	struct CMUnitTest tests[N_ELEMENTS(ways)];
	size_t i;

	for (i = 0; i < N_ELEMENTS(ways); i++)
		tests[i] = (struct CMUnitTest){ ways[i].name, test_way, NULL, NULL,
			(void *)(uintptr_t)&ways[i] };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
