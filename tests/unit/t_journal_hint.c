/* t_journal_hint.c: what is answered from memory is what the database would say. */
#include "journal_kit.h"

enum { KEYS = 20000 }; /* several layers of the filter */

static const char *name_of(uint32_t n)
{
	static char text[16];

	snprintf(text, sizeof(text), "u%u", n);
	return text;
}

static enum status count_alias(void *ctx, const struct journal_alias *a, struct err *e)
{
	(void)a;
	(void)e;
	++*(unsigned *)ctx;
	return ST_OK;
}

static enum status count_row(void *ctx, const struct journal_row *row, struct err *e)
{
	(void)row;
	(void)e;
	++*(unsigned *)ctx;
	return ST_OK;
}

/* Message n is found in every way, or in none. */
static void check(struct journal *j, uint32_t n, bool there)
{
	struct facts f = facts_of(n);
	struct journal_row row;
	unsigned aliases = 0, rows = 0;
	const char *uidl = name_of(n);

	assert_int_equal(journal_find(j, uidl, strlen(uidl), 0, &row, &err),
		there ? ST_OK : ST_END);
	OK(journal_aliases(j, &f, 0, count_alias, &aliases, &err));
	OK(journal_candidates(j, 0, f.msgid, NULL, count_row, &rows, &err));
	OK(journal_candidates(j, 0, f.msgid, f.exact, count_row, &rows, &err));
	assert_int_equal(aliases, there);
	assert_int_equal(rows, there ? 2 : 0);
}

static void check_range(struct journal *j, uint32_t from, uint32_t to, bool there)
{
	for (; from < to; from++)
		check(j, from, there);
}

static void take_range(struct journal *j, uint32_t from, uint32_t to)
{
	for (; from < to; from++)
		take(j, name_of(from), from);
}

static void test_absent(void **state)
{
	struct journal *j = open_it();

	(void)state;
	OK(journal_begin(j, &err));
	take_range(j, 0, KEYS);
	check_range(j, 0, KEYS, true);
	check_range(j, KEYS, KEYS + 1000, false);
	OK(journal_commit(j, &err));
	/* Rows of another day; they are read on the way. */
	reopen(&j);
	OK(journal_begin(j, &err));
	check_range(j, KEYS, 2 * KEYS, false);
	check_range(j, 0, KEYS, true);
	take_range(j, KEYS, KEYS + 10);
	check_range(j, KEYS, KEYS + 10, true);
	OK(journal_commit(j, &err));
	journal_close(&j);
}

static void test_filled(void **state)
{
	struct journal *j = open_it();

	(void)state;
	OK(journal_begin(j, &err));
	failed(j, name_of(1), NULL); /* its content is not known yet */
	OK(journal_commit(j, &err));
	OK(journal_begin(j, &err));
	take(j, name_of(1), 1);
	OK(journal_commit(j, &err));
	check(j, 1, true);
	OK(journal_begin(j, &err));
	check(j, 1, true);
	take(j, name_of(1),
		2); /* another one has its name; both are there by content */
	OK(journal_commit(j, &err));
	OK(journal_begin(j, &err));
	assert_true(row_of(j, name_of(1)).id == 2);
	OK(journal_commit(j, &err));
	journal_close(&j);
}

static void test_nameless(void **state)
{
	struct journal *j = open_it();
	struct facts f = facts_of(1);
	struct journal_row row;

	(void)state;
	OK(journal_begin(j, &err));
	assert_int_equal(journal_find_content(j, f.sha256, 0, &row, &err), ST_END);
	take(j, NULL, 1);
	OK(journal_find_content(j, f.sha256, 0, &row, &err));
	OK(journal_commit(j, &err));
	journal_close(&j);
}

static void test_other_writer(void **state)
{
	struct journal *j = open_it(), *other = open_it();

	(void)state;
	OK(journal_begin(j, &err));
	check(j, 1, false);
	OK(journal_commit(j, &err));
	take(other, name_of(1), 1);
	OK(journal_begin(j, &err));
	check(j, 1, true);
	OK(journal_commit(j, &err));
	journal_close(&other);
	journal_close(&j);
}

static void test_undone(void **state)
{
	struct journal *j = open_it();
	struct place floor = { 7, 1 }, at = { 7, 5 };
	unsigned k = sink(j, "a");
	int64_t holder, id;

	(void)state;
	OK(journal_begin(j, &err));
	store(j, take(j, name_of(1), 1), k, 5);
	journal_run_end(j, 1, 1, &(struct ledger){ 0 }, 0, "", &err); /* undoes it */
	OK(journal_begin(j, &err));
	check(j, 1, false);
	id = take(j, name_of(2), 2);
	OK(journal_storing(
		j, id, k, "INBOX", &floor, 1, &err)); /* its folder is gone too */
	assert_int_equal(journal_holder(j, id, k, &at, &holder, &err), ST_END);
	OK(journal_stored(j, id, k, &at, NULL, &err));
	id = take(j, name_of(3), 3);
	OK(journal_storing(j, id, k, "INBOX", &floor, 1, &err));
	OK(journal_holder(j, id, k, &at, &holder, &err));
	assert_int_equal(holder, 1);
	at.number = 4; /* below the highest, and free */
	assert_int_equal(journal_holder(j, id, k, &at, &holder, &err), ST_END);
	at.generation = 6;
	assert_int_equal(journal_holder(j, id, k, &at, &holder, &err), ST_END);
	OK(journal_commit(j, &err));
	journal_close(&j);
}

/* More are announced than are remembered, and in turn into three folders. */
static void test_many_places(void **state)
{
	static const char *const folders[] = { "INBOX", "Junk", "Sent" };
	enum { MANY = 3000 };
	struct journal *j = open_it();
	unsigned k = sink(j, "a");
	struct place floor = { 7, 1 }, high = { 7, 100000 };
	int64_t holder, id;
	uint32_t n;

	(void)state;
	OK(journal_begin(j, &err));
	for (n = 0; n < MANY; n++) {
		id = take(j, name_of(n), n);
		OK(journal_storing(j, id, k, folders[n % 3], &floor, 1, &err));
	}
	OK(journal_commit(j, &err));
	OK(journal_begin_lazy(j, &err));
	for (n = 0; n < MANY; n++) {
		struct place at = { 7, n / 3 + 1 }, last = { 7, n / 3 };

		id = row_of(j, name_of(n)).id;
		assert_int_equal(journal_holder(j, id, k, &at, &holder, &err), ST_END);
		if (last.number) {
			OK(journal_holder(j, id, k, &last, &holder, &err));
			assert_int_equal(holder, id - 3);
		}
		OK(journal_stored(j, id, k, &at, NULL, &err));
	}
	/* One that is not remembered gets a number above all that is known. */
	id = take(j, name_of(MANY), MANY);
	OK(journal_storing(j, id, k, "INBOX", &floor, 1, &err));
	assert_int_equal(journal_holder(j, id, k, &high, &holder, &err), ST_END);
	OK(journal_doubtful(j, 1, k, 1, &err));
	OK(journal_stored(j, 1, k, &high, NULL, &err));
	OK(journal_holder(j, id, k, &high, &holder, &err));
	assert_int_equal(holder, 1);
	OK(journal_commit(j, &err));
	assert_int_equal(totals(j).stored, MANY);
	journal_close(&j);
}

static void test_no_such_message(void **state)
{
	struct journal *j = open_it();
	struct place floor = { 7, 1 };
	unsigned k = sink(j, "a");
	int64_t id = take(j, name_of(1), 1);

	(void)state;
	assert_int_equal(
		journal_storing(j, id + 1, k, "INBOX", &floor, 1, &err), ST_FATAL);
	assert_int_equal(
		journal_storing(j, id, k + 1, "INBOX", &floor, 1, &err), ST_FATAL);
	assert_int_equal(journal_duplicate(j, id, id + 1, "exact", &err), ST_FATAL);
	assert_int_equal(journal_notice(j, id + 1, "odd", "odd", &err), ST_FATAL);
	assert_int_equal(err.exit, EX_SOFTWARE);
	journal_close(&j);
}

/* ---- all in a row ---- */

struct walked {
	struct journal *j;
	unsigned n, stop_at;
};

static enum status walk_one(void *ctx, const char *uidl, size_t n, uint32_t occurrence,
	const struct journal_row *r, struct err *e)
{
	struct walked *w = ctx;
	struct journal_row row;

	OK(journal_find(w->j, uidl, n, occurrence, &row, e));
	assert_int_equal(r->id, row.id);
	assert_int_equal(r->state, row.state);
	assert_int_equal(r->of, row.of);
	assert_true(r->listed_size == row.listed_size);
	assert_true(r->size == row.size);
	assert_int_equal(r->has_content, row.has_content);
	assert_int_equal(r->date, row.date);
	assert_int_equal(r->stored, row.stored);
	assert_int_equal(r->storing, row.storing);
	assert_int_equal(r->verified, row.verified);
	return ++w->n == w->stop_at ? ST_SKIP : ST_OK;
}

static void test_walk(void **state)
{
	struct journal *j = open_it();
	struct walked w = { j, 0, 0 };
	struct place floor = { 7, 1 }, at = { 7, 1 };
	unsigned a = sink(j, "a"), b = sink(j, "b");
	int64_t holder;

	(void)state;
	OK(journal_begin(j, &err));
	OK(journal_walk(j, walk_one, &w, &err));
	assert_int_equal(w.n, 0);
	store(j, take(j, name_of(1), 1), a, 1);
	store(j, take(j, NULL, 2), a, 2); /* is not among them, nor are its places */
	store(j, take(j, name_of(3), 3), b, 3);
	store(j, 3, a, 3);
	OK(journal_verified(j, 3, a, &(struct place){ 7, 3 }, 9, &err));
	take(j, name_of(4), 4);
	OK(journal_duplicate(j, 4, 1, "exact", &err));
	failed(j, name_of(5), NULL);
	store(j, take(j, name_of(6), 6), a, 6);
	take(j, name_of(6), 7); /* sets that aside */
	OK(journal_storing(j, 7, b, "INBOX", &floor, 1, &err));
	assert_int_equal(journal_holder(j, 7, b, &at, &holder, &err), ST_END);
	OK(journal_walk(j, walk_one, &w, &err));
	assert_int_equal(w.n, 5);
	w.n = 0;
	w.stop_at = 2;
	assert_int_equal(journal_walk(j, walk_one, &w, &err), ST_SKIP);
	OK(journal_commit(j, &err));
	journal_close(&j);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_absent),
		TEST(test_filled),
		TEST(test_nameless),
		TEST(test_other_writer),
		TEST(test_undone),
		TEST(test_many_places),
		TEST(test_no_such_message),
		TEST(test_walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
