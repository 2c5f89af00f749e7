/*
 * t_journal_streak.c: what is written together is what it would be one by one.
 *
 * The same changes, as chance has them, go to a journal where each is a transaction by
 * itself and to one where many are: after each both must say the same, errors too.
 */
#include "journal_kit.h"

#include <popferry/clock.h>

#include <sys/stat.h>

enum { STEPS = 1500, SINKS = 2, FOLDERS = 2, REACH = 24 };

enum kind { TAKE, STORING, STORED, NOT_STORED, VERIFIED, DOUBTFUL, KINDS };
struct change {
	enum kind kind;
	int64_t id;
	unsigned sink, folder;
	struct place at;
	bool wire, ask; /* ask: who has that place? */
	int64_t now;
};

struct both {
	struct journal *alone, *together;
	struct change done[STEPS]; /* in the transaction that is open */
	size_t n;
	int64_t last;
	uint64_t number[SINKS]; /* the next that is nobody's */
	unsigned seed;
};

static const char *const folders[FOLDERS] = { "INBOX", "Else" };

static unsigned any(struct both *b, unsigned n)
{
	b->seed = b->seed * 1103515245 + 12345;
	return (b->seed >> 16) % n;
}

/* ---- a change ---- */

static enum status make(struct journal *j, const struct change *c, struct err *why)
{
	struct facts f = facts_of((uint32_t)c->id);
	struct journal_key k;
	char uidl[16];
	int64_t id, holder;

	if (c->ask && journal_holder(j, c->id, c->sink, &c->at, &holder, why) == ST_OK)
		return ST_SKIP;
	switch (c->kind) {
	case TAKE:
		snprintf(uidl, sizeof(uidl), "%d", (int)c->id);
		k = key_of(uidl, 0, f.size);
		OK(journal_take(j, &k, &f, 0, &id, why));
		assert_int_equal(id, c->id);
		return ST_OK;
	case STORING:
		return journal_storing(
			j, c->id, c->sink, folders[c->folder], &c->at, c->now, why);
	case STORED:
		return journal_stored(
			j, c->id, c->sink, &c->at, c->wire ? f.sha256 : NULL, why);
	case NOT_STORED:
		return journal_not_stored(j, c->id, c->sink, why);
	case VERIFIED:
		return journal_verified(j, c->id, c->sink, &c->at, 1, why);
	default:
		return journal_doubtful(j, c->id, c->sink, 1, why);
	}
}

/* What is wrong undoes the transaction: it is made once more, without that. */
static void apply(struct both *b, const struct change *c)
{
	struct err one = ERR_INIT, all = ERR_INIT;
	enum status rc = make(b->alone, c, &one);
	size_t i;

	assert_int_equal(make(b->together, c, &all), rc);
	if (rc == ST_SKIP)
		return;
	if (rc != ST_FATAL) {
		b->done[b->n++] = *c;
		return;
	}
	assert_string_equal(strstr(one.text, ": "), strstr(all.text, ": "));
	assert_int_equal(one.exit, all.exit);
	OK(journal_begin(b->together, &err));
	for (i = 0; i < b->n; i++)
		make(b->together, &b->done[i], &err);
}

static struct change next_change(struct both *b)
{
	/* Mostly what a run does. */
	static const enum kind kinds[] = { TAKE, TAKE, STORING, STORING, STORING,
		STORED, STORED, STORED, STORED, NOT_STORED, VERIFIED, DOUBTFUL };
	struct change c = { .kind = kinds[any(b, N_ELEMENTS(kinds))] };
	int64_t reach = b->last < REACH ? b->last : REACH;

	if (c.kind == TAKE || !b->last)
		return (struct change){ .kind = TAKE, .id = ++b->last };
	c.id = b->last - any(b, (unsigned)reach);
	c.sink = any(b, SINKS);
	c.folder = any(b, 8) == 0;
	c.at = (struct place){ 7 + (any(b, 12) == 0), 1 };
	c.wire = any(b, 10) == 0;
	c.ask = c.kind == STORED && any(b, 2);
	c.now = 1 + (any(b, 5) == 0);
	if (c.kind >= STORED && any(b, 8) > 0)
		c.at.number = b->number[c.sink]++;
	else if (c.kind >= STORED)
		c.at.number = any(b, 3) * any(b, (unsigned)b->number[c.sink]);
	return c;
}

/* ---- what they say ---- */

static void check_message(struct both *b, int64_t id, unsigned k)
{
	struct journal *v[2] = { b->alone, b->together };
	struct place at[2] = { { 0, 0 }, { 0, 0 } }, floor[2] = { { 0, 0 }, { 0, 0 } };
	struct place asked = { 7, 1 + any(b, (unsigned)b->number[k]) };
	struct journal_row row[2];
	enum status rc[2][3];
	char *folder[2] = { NULL, NULL };
	int64_t since[2] = { 0, 0 }, holder[2] = { 0, 0 };
	size_t i;

	for (i = 0; i < 2; i++) {
		row[i] = get(v[i], id);
		rc[i][0] = journal_place(v[i], id, k, &at[i], &err);
		rc[i][1] = journal_doubt(
			v[i], id, k, &floor[i], &folder[i], &since[i], &err);
		rc[i][2] = journal_holder(v[i], id, k, &asked, &holder[i], &err);
	}
	assert_memory_equal(&row[0], &row[1], sizeof(row[0]));
	assert_memory_equal(rc[0], rc[1], sizeof(rc[0]));
	assert_memory_equal(&at[0], &at[1], sizeof(at[0]));
	assert_memory_equal(&floor[0], &floor[1], sizeof(floor[0]));
	assert_int_equal(holder[0], holder[1]);
	assert_int_equal(since[0], since[1]);
	if (folder[0])
		assert_string_equal(folder[0], folder[1]);
	free(folder[0]);
	free(folder[1]);
}

/* A batch, in order: everything of it is kept back. */
static void batch(struct both *b)
{
	unsigned n = 1 + any(b, 12), i, k;
	int64_t first = b->last + 1;
	struct change c = {
		.kind = STORING, .folder = any(b, FOLDERS), .at = { 7, 1 }
	};

	for (i = 0; i < n; i++) {
		apply(b, &(struct change){ .kind = TAKE, .id = ++b->last });
		for (k = 0; k < SINKS; k++) {
			c.id = b->last;
			c.sink = k;
			c.now = 1 + (any(b, 20) == 0);
			c.at.generation = 7 + (any(b, 30) == 0);
			apply(b, &c);
		}
	}
	for (i = 0; n % 3 == 1 && i < n; i++)
		check_message(b, first + i, i % SINKS);
	c.kind = STORED;
	for (i = 0; i < n; i++)
		for (k = 0; k < SINKS; k++) {
			c.id = first + i;
			c.sink = k;
			c.ask = any(b, 4) > 0;
			c.wire = any(b, 30) == 0;
			c.at.generation = 7 + (any(b, 30) == 0);
			c.at.number = k && n % 3 == 0 ? 0 : b->number[k]++;
			/* A hole, somebody's place, or the order of another server. */
			if (any(b, 16) == 0)
				c.at.number = b->number[k] - 1 - any(b, 3);
			apply(b, &c);
		}
}

/* A number for all that is stored, and as what. */
static uint64_t sum_of(struct journal *j, unsigned k)
{
	struct journal_page *p = xcalloc(1, sizeof(*p));
	uint64_t sum = 0;
	enum status rc;
	size_t i;

	p->again = true;
	while ((rc = journal_page(j, k, p, &err)) == ST_OK)
		for (i = 0; i < p->n; i++) {
			const struct journal_placed *v = &p->v[i];

			sum = sum * 31 + (uint64_t)p->folder_id + (uint64_t)v->id * 3;
			sum = sum * 31 + v->at.generation * 7 + v->at.number;
			sum = sum * 31 + v->verified + (v->has_wire ? v->wire[0] : 999);
		}
	assert_int_equal(rc, ST_END);
	free(p->folder);
	free(p);
	return sum;
}

static void check_all(struct both *b)
{
	unsigned k;
	int64_t id;

	for (k = 0; k < SINKS; k++) {
		assert_true(sum_of(b->alone, k) == sum_of(b->together, k));
		for (id = 1; id <= b->last; id++)
			check_message(b, id, k);
	}
}

static void step(struct both *b)
{
	struct change c;

	if (any(b, 12) == 0) {
		batch(b);
	} else {
		c = next_change(b);
		apply(b, &c);
	}
	if (any(b, 6) == 0)
		check_message(b, 1 + any(b, (unsigned)b->last), any(b, SINKS));
	if (any(b, 15) == 0 || b->n + 100 > STEPS) {
		OK(journal_commit(b->together, &err));
		OK(any(b, 2) ? journal_begin(b->together, &err)
			     : journal_begin_lazy(b->together, &err));
		b->n = 0;
	}
}

static void test_same(void **state)
{
	struct both *b = xcalloc(1, sizeof(*b));
	unsigned seed, i;
	int other;

	(void)state;
	for (seed = 1; seed <= 4; seed++) {
		*b = (struct both){ .seed = seed, .number = { 5, 5 } };
		assert_int_equal(mkdir(in_dir("sub"), 0700), 0);
		other = open(in_dir("sub"), O_RDONLY | O_DIRECTORY);
		OK(journal_open(&b->alone, other, ACCOUNT, false, &err));
		b->together = open_it();
		for (i = 0; i < SINKS; i++)
			assert_int_equal(sink(b->alone, i ? "b" : "a"),
				sink(b->together, i ? "b" : "a"));
		OK(journal_begin(b->together, &err));
		for (i = 0; i < 250; i++)
			step(b);
		check_all(b);
		OK(journal_commit(b->together, &err));
		reopen(&b->together);
		check_all(b);
		journal_close(&b->alone);
		journal_close(&b->together);
		unlink(in_dir("sub/" DB));
		close(other);
		rmdir(in_dir("sub"));
		wipe();
	}
	free(b);
}

/* ---- at the end of a transaction ---- */

static void announce(struct journal *j, unsigned k, int64_t id, unsigned n)
{
	struct place floor = { 7, 1 };

	while (n--)
		OK(journal_storing(j, id++, k, "INBOX", &floor, 1, &err));
}

/* What is undone was kept back in vain, and nothing of it comes later. */
static void test_undone(void **state)
{
	struct journal *j = open_it();
	unsigned k = sink(j, "a");
	struct place at = { 7, 1 };
	int64_t id;

	(void)state;
	OK(journal_begin(j, &err));
	id = take(j, "a", 1);
	take(j, "b", 2);
	announce(j, k, id, 2);
	assert_int_equal(journal_begin(j, &err), ST_FATAL); /* and that breaks it */
	OK(journal_begin(j, &err));
	assert_int_equal(take(j, "a", 1), id);
	OK(journal_commit(j, &err));
	assert_int_equal(get(j, id).storing, 0);

	OK(journal_begin(j, &err));
	announce(j, k, id, 1);
	OK(journal_commit(j, &err));
	OK(journal_begin(j, &err));
	OK(journal_stored(j, id, k, &at, NULL, &err));
	assert_int_equal(journal_begin(j, &err), ST_FATAL);
	OK(journal_begin(j, &err));
	OK(journal_commit(j, &err));
	assert_int_equal(get(j, id).stored, 0);
	assert_int_equal(get(j, id).storing, 1);
	journal_close(&j);
}

/* A message's number there and another's floor are no neighbours. */
static void test_unlike(void **state)
{
	struct journal *j = open_it();
	unsigned k = sink(j, "a");
	struct place at = { 7, 1 }, got;
	int64_t id, next;

	(void)state;
	id = take(j, "a", 1);
	announce(j, k, id, 1);
	OK(journal_begin(j, &err));
	assert_int_equal(journal_holder(j, id, k, &at, &next, &err), ST_END);
	next = take(j, "b", 2);
	OK(journal_stored(j, id, k, &at, NULL, &err));
	OK(journal_storing(j, next, k, "INBOX", &at, clock_utc(), &err));
	OK(journal_commit(j, &err));
	assert_int_equal(get(j, id).stored, 1);
	assert_int_equal(get(j, next).storing, 1);
	assert_int_equal(journal_place(j, next, k, &got, &err), ST_END);
	journal_close(&j);
}

static void refuse_place(struct journal *j, unsigned k, int64_t id, struct place at)
{
	assert_int_equal(journal_stored(j, id, k, &at, NULL, &err), ST_FATAL);
	assert_non_null(strstr(err.text, "two messages claim"));
	OK(journal_begin(j, &err));
}

/* What is known of the numbers of one generation says nothing of another; nor does what
 * was known before somebody got a number that was not watched. */
static void test_taken(void **state)
{
	enum { APART = 1024 }; /* one is forgotten for the other */
	struct journal *j = open_it();
	unsigned k = sink(j, "a");
	struct place old = { 7, 50 }, now = { 8, 1 };
	int64_t first, id = 0, holder;
	char name[16];
	uint32_t i;

	(void)state;
	OK(journal_begin(j, &err));
	for (i = 0; i <= APART; i++) {
		snprintf(name, sizeof(name), "%u", i);
		id = take(j, name, i);
		announce(j, k, id, 1);
	}
	first = id - APART;
	OK(journal_stored(j, first + 1, k, &old, NULL, &err));
	OK(journal_commit(j, &err));
	OK(journal_begin(j, &err));
	assert_int_equal(journal_holder(j, id, k, &now, &holder, &err), ST_END);
	refuse_place(j, k, id, old);

	announce(j, k, id, 1);
	OK(journal_commit(j, &err));
	OK(journal_begin(j, &err));
	assert_int_equal(journal_holder(j, id, k, &now, &holder, &err), ST_END);
	OK(journal_stored(j, first, k, &now, NULL, &err));
	refuse_place(j, k, id, now);
	journal_close(&j);
}

/* A broken transaction takes no more, not even what would be kept back. */
static void test_broken(void **state)
{
	struct journal *j = open_it();
	unsigned k = sink(j, "a");
	struct place floor = { 7, 1 }, at = { 7, 0 };
	int64_t id;

	(void)state;
	id = take(j, "a", 1);
	announce(j, k, id, 1);
	OK(journal_begin(j, &err));
	take(j, "b", 2);
	assert_int_equal(
		journal_storing(j, id + 7, k, "INBOX", &floor, 1, &err), ST_FATAL);
	assert_int_equal(
		journal_storing(j, id + 1, k, "INBOX", &floor, 1, &err), ST_FATAL);
	assert_non_null(strstr(err.text, "an earlier change"));
	assert_int_equal(journal_stored(j, id, k, &at, NULL, &err), ST_FATAL);
	assert_non_null(strstr(err.text, "an earlier change"));
	assert_int_equal(journal_commit(j, &err), ST_FATAL);
	journal_close(&j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_same),
		TEST(test_undone),
		TEST(test_unlike),
		TEST(test_taken),
		TEST(test_broken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
