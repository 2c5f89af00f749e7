/*
 * t_equal.c: equal messages by the hundred. What the journal does for each must not
 * grow with how many there are: the steps of SQLite's machine are counted, not seconds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_kit.h"

#include <inttypes.h>
#include <sqlite3.h>

enum { FEW = 150, TIMES = 4, TEXTS = 3, STEPS = 10 };

static uint64_t work; /* of all databases, in STEPS */

static int count(void *ctx)
{
	(void)ctx;
	work++;
	return 0;
}

static int watch(
	sqlite3 *db, const char **message, const struct sqlite3_api_routines *api)
{
	(void)message;
	(void)api;
	sqlite3_progress_handler(db, STEPS, count, NULL);
	return SQLITE_OK;
}

enum names { OWN, NONE, SHARED, CHANGED };

static const struct {
	const char *name;
	enum names names;
	const char *options;
	bool again; /* the work of a second run counts, which stores nothing */
} rows[] = {
	{ "UIDLs of their own", OWN, "dedup=none only-archive", false },
	{ "UIDLs of their own, known", OWN, "dedup=none only-archive", true },
	{ "no UIDLs", NONE, "dedup=none only-archive", false },
	{ "no UIDLs, known", NONE, "dedup=none only-archive", true },
	{ "one UIDL for all", SHARED, "dedup=none only-archive", false },
	{ "one UIDL for all, known", SHARED, "dedup=none only-archive", true },
	{ "other UIDLs each time", CHANGED, "dedup=none only-archive", true },
	{ "duplicates", OWN, "dedup=message-id only-archive", false },
	{ "duplicates, other UIDLs", CHANGED, "dedup=message-id only-archive", true },
	{ "to IMAP", OWN, "dedup=none", false },
};

static void fill(struct rig *r, enum names names, unsigned n, char mark)
{
	static const struct fakepop_ways none = { .no_uidl = true };
	char uidl[32];
	unsigned i;

	fakepop_empty(r->pop);
	if (names == NONE)
		fakepop_behave(r->pop, &none);
	for (i = 0; i < n; i++) {
		snprintf(uidl, sizeof(uidl), "%c%u", mark, names == SHARED ? 0 : i);
		fakepop_add(r->pop, names == NONE ? NULL : uidl,
			kit_text(r, (char)('a' + i % TEXTS)));
	}
}

/* How much work n messages are. */
static uint64_t work_for(size_t row, unsigned n)
{
	bool dedup = strstr(rows[row].options, "message-id") != NULL;
	struct rig *r;
	uint64_t did;

	kit_open(&r);
	r->batch = 50;
	fill(r, rows[row].names, n, 'x');
	work = 0;
	assert_int_equal(kit_run(r, rows[row].options), 0);
	assert_int_equal(r->out.ledger.stored, dedup ? TEXTS : n);
	did = work;
	if (rows[row].again) {
		fill(r, rows[row].names, n, rows[row].names == CHANGED ? 'y' : 'x');
		work = 0;
		assert_int_equal(kit_run(r, rows[row].options), 0);
		assert_int_equal(r->out.ledger.stored, 0);
		assert_int_equal(r->out.ledger.listed, n);
		did = work;
	}
	kit_close(&r);
	return did;
}

static void test_work(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		uint64_t few = work_for(i, FEW), many = work_for(i, TIMES * FEW);

		if (getenv("KIT_LOG"))
			print_message("%s: %" PRIu64 ", %" PRIu64 "\n", rows[i].name,
				few, many);
		if (2 * many > 3 * TIMES * few)
			fail_msg("%s: %d times the messages are %" PRIu64
				 " times the work",
				rows[i].name, TIMES, many / few);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_work) };

	sqlite3_auto_extension((void (*)(void))watch);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
