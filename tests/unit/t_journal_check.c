/* t_journal_check.c: schema steps, notices, read back, deletion at the source. */
#include "journal_kit.h"

#include <sqlite3.h>

static void sql(const char *text)
{
	sqlite3 *db;
	char *why = NULL;

	assert_int_equal(sqlite3_open(in_dir(DB), &db), SQLITE_OK);
	if (sqlite3_exec(db, text, NULL, NULL, &why) != SQLITE_OK)
		fail_msg("%s: %s", text, why);
	sqlite3_close(db);
}

/* ---- versions ---- */

/* What later versions added, taken away. */
static void make_old(void)
{
	sql("DROP TABLE notice; DROP INDEX message_asked; DROP INDEX message_asks;"
	    "DROP INDEX message_reissued; DROP INDEX message_bare;"
	    "CREATE INDEX message_exact ON message (substr(exact, 1, 8))"
	    " WHERE exact IS NOT NULL;"
	    "ALTER TABLE message DROP COLUMN asks;"
	    "ALTER TABLE message DROP COLUMN kept;"
	    "ALTER TABLE message DROP COLUMN asked;"
	    "ALTER TABLE message DROP COLUMN removed;"
	    "ALTER TABLE run DROP COLUMN deleted;"
	    "ALTER TABLE run DROP COLUMN delete_left;"
	    "ALTER TABLE failure DROP COLUMN at;"
	    "UPDATE place SET since = NULL WHERE state = 2;"
	    "PRAGMA user_version = 1");
}

static int64_t version(void)
{
	sqlite3 *db;
	sqlite3_stmt *st;
	int64_t n;

	assert_int_equal(sqlite3_open(in_dir(DB), &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &st, NULL),
		SQLITE_OK);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	n = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	sqlite3_close(db);
	return n;
}

static enum status count_row(void *ctx, const struct journal_row *row, struct err *e)
{
	(void)row;
	(void)e;
	++*(unsigned *)ctx;
	return ST_OK;
}

static enum status count_alias(void *ctx, const struct journal_alias *a, struct err *e)
{
	(void)a;
	(void)e;
	++*(unsigned *)ctx;
	return ST_OK;
}

/* How often a message is found by its content, with a Message-ID and without. */
static unsigned found(struct journal *j, const struct facts *f)
{
	unsigned n = 0;

	OK(journal_candidates(
		j, 0, f->has_msgid ? f->msgid : NULL, f->exact, count_row, &n, &err));
	OK(journal_aliases(j, f, 0, count_alias, &n, &err));
	return n;
}

static void test_version_1(void **state)
{
	struct journal *j = open_it();
	struct facts with = facts_of(1), bare = facts_of(2);
	struct journal_key key = key_of("bare", 0, 1);
	struct place at = { 7, 42 };
	unsigned k = sink(j, "imap:a@b");
	int64_t id = take(j, "u", 1), other, when = 0;

	(void)state;
	store(j, id, k, 42);
	bare.has_msgid = false;
	OK(journal_take(j, &key, &bare, 0, &other, &err));
	journal_close(&j);
	make_old();

	/* Only read: as it would be, and the file untouched. */
	OK(journal_open(&j, dirfd_, ACCOUNT, true, &err));
	assert_int_equal(get(j, id).stored, 1u << k);
	assert_int_equal(totals(j).stored, 1);
	assert_int_equal(found(j, &with), 2);
	assert_int_equal(found(j, &bare), 2);
	assert_int_equal(journal_verified(j, id, k, &at, 5, &err), ST_FATAL);
	journal_close(&j);
	assert_int_equal(version(), 1);

	j = open_it();
	assert_int_equal(get(j, id).stored, 1u << k);
	assert_int_equal(get(j, id).verified, 0);
	assert_int_equal(found(j, &with), 2);
	assert_int_equal(found(j, &bare), 2);
	/* Nobody knows when: not before now. */
	OK(journal_stored_at(j, id, 1u << k, 500, &when, &err));
	assert_int_equal(when, 500);
	OK(journal_verified(j, id, k, &at, 300, &err));
	OK(journal_stored_at(j, id, 1u << k, 500, &when, &err));
	assert_int_equal(when, 300);
	journal_close(&j);
	assert_int_equal(version(), 5);
}

/* ---- read back ---- */

static void test_verified(void **state)
{
	struct journal *j = open_it();
	unsigned a = sink(j, "imap:a@b"), b = sink(j, "archive:/x");
	int64_t id = take(j, "u", 1), other = take(j, "v", 2), when;
	struct place at = { 7, 42 }, taken = { 7, 43 }, none = { 7, 0 };

	(void)state;
	assert_int_equal(journal_verified(j, id, a, &at, 5, &err), ST_END);
	OK(journal_storing(j, id, a, "INBOX", &none, 1, &err));
	assert_int_equal(journal_verified(j, id, a, &at, 5, &err), ST_END);
	OK(journal_stored(j, id, a, &none, NULL, &err));
	store(j, other, a, 43);
	/* What another message has is not this one's. */
	assert_int_equal(journal_verified(j, id, a, &taken, 5, &err), ST_END);
	assert_int_equal(get(j, id).verified, 0);
	OK(journal_verified(j, id, a, &at, 5, &err));
	assert_int_equal(get(j, id).verified, 1u << a);
	assert_int_equal(get(j, id).stored, 1u << a);
	assert_int_equal(totals(j).stored, 2);
	assert_int_equal(totals(j).verified, 1);
	assert_int_equal(
		journal_stored_at(j, id, 1u << a | 1u << b, 9, &when, &err), ST_END);
	store(j, id, b, 1);
	OK(journal_stored_at(j, id, 1u << a | 1u << b, 9, &when, &err));
	assert_int_equal(totals(j).verified, 0);

	/* Missing: what was verified once is not sent again, what never was, is. */
	OK(journal_doubtful(j, id, a, 9, &err));
	OK(journal_doubtful(j, other, a, 9, &err));
	assert_int_equal(get(j, id).stored, 1u << a | 1u << b);
	assert_int_equal(get(j, other).stored, 0);
	assert_int_equal(get(j, other).storing, 1u << a);
	journal_close(&j);
}

static void test_pages(void **state)
{
	enum { MANY = JOURNAL_PAGE + 10 };
	struct journal *j = open_it();
	struct journal_page *p = xcalloc(1, sizeof(*p));
	unsigned a = sink(j, "imap:a@b"), b = sink(j, "archive:/x");
	static const struct place none = { 7, 0 };
	uint64_t last = 0;
	size_t seen = 0, pages = 0, i;
	int64_t id;
	char uidl[16];

	(void)state;
	OK(journal_begin(j, &err));
	for (i = 0; i < MANY; i++) {
		snprintf(uidl, sizeof(uidl), "u%zu", i);
		id = take(j, uidl, (uint32_t)i);
		store(j, id, a, MANY - i);
		if (i % 2)
			store(j, id, b, i + 1);
	}
	id = take(j, "elsewhere", 9000);
	OK(journal_storing(j, id, a, "Sent", &none, 1, &err));
	OK(journal_stored(j, id, a, &(struct place){ 8, 1 }, NULL, &err));
	id = take(j, "unknown", 9001);
	OK(journal_storing(j, id, a, "INBOX", &none, 1, &err));
	OK(journal_stored(j, id, a, &none, get(j, id).exact, &err));
	OK(journal_commit(j, &err));

	while (journal_page(j, a, p, &err) == ST_OK) {
		if (strcmp(p->folder, "Sent") == 0) {
			assert_int_equal(p->n, 1);
			assert_int_equal(p->generation, 8);
		}
		for (i = 0; i < p->n; i++, seen++) {
			if (strcmp(p->folder, "INBOX") != 0)
				continue;
			assert_true(p->v[i].at.number > last);
			last = p->v[i].at.number;
			/* The page stays true while its rows change. */
			OK(journal_verified(j, p->v[i].id, a, &p->v[i].at, 5, &err));
		}
		pages++;
	}
	assert_int_equal(seen, MANY + 1);
	assert_int_equal(pages, 3);

	free(p->folder);
	*p = (struct journal_page){ .unknown = true };
	OK(journal_page(j, a, p, &err));
	assert_int_equal(p->n, 1);
	assert_int_equal(p->v[0].id, id);
	assert_true(p->v[0].has_wire);
	assert_int_equal(journal_page(j, a, p, &err), ST_END);

	free(p->folder);
	*p = (struct journal_page){ .again = false };
	OK(journal_page(j, a, p, &err));
	assert_string_equal(p->folder, "Sent"); /* all others are verified */
	assert_int_equal(journal_page(j, a, p, &err), ST_END);

	free(p->folder);
	*p = (struct journal_page){ .again = true };
	OK(journal_page(j, a, p, &err));
	assert_int_equal(p->n, JOURNAL_PAGE);
	assert_true(p->v[0].verified);
	free(p->folder);
	free(p);
	journal_close(&j);
}

/* ---- deletion ---- */

struct asked {
	struct journal *j;
	size_t n;
	int64_t id[4];
};

static enum status each_asked(void *ctx, int64_t id, struct err *e)
{
	struct asked *a = ctx;

	assert_true(a->n < N_ELEMENTS(a->id));
	a->id[a->n++] = id;
	return journal_remove_settled(a->j, id, 77, e);
}

static void test_removal(void **state)
{
	struct journal *j = open_it();
	int64_t x = take(j, "x", 1), y = take(j, "y", 2);
	struct asked a = { .j = j };
	uint64_t n = 9;

	(void)state;
	OK(journal_removed_count(j, &n, &err));
	assert_int_equal(n, 0);
	OK(journal_remove_asked(j, y, 50, &err));
	OK(journal_remove_asked(j, x, 51, &err));
	OK(journal_removed_count(j, &n, &err));
	assert_int_equal(n, 2);
	reopen(&j);
	a.j = j;
	assert_int_equal(get(j, x).asked, 51);
	assert_int_equal(get(j, x).removed, 0);
	OK(journal_removals(j, each_asked, &a, &err));
	assert_int_equal(a.n, 2);
	assert_int_equal(a.id[0], x);
	assert_int_equal(get(j, x).removed, 77);
	assert_int_equal(get(j, x).asked, 0);
	assert_int_equal(totals(j).removed, 2);

	/* It came back; and then it was not even tried. */
	OK(journal_remove_kept(j, x, &err));
	assert_int_equal(get(j, x).kept, 1);
	assert_int_equal(get(j, x).removed, 0);
	OK(journal_remove_asked(j, x, 90, &err));
	OK(journal_remove_settled(j, x, 0, &err));
	assert_int_equal(get(j, x).kept, 1);
	assert_int_equal(get(j, x).asked, 0);
	OK(journal_removed_count(j, &n, &err));
	assert_int_equal(n, 3);
	assert_int_equal(journal_remove_asked(j, 99, 1, &err), ST_FATAL);
	assert_int_equal(err.exit, EX_SOFTWARE);
	assert_int_equal(journal_remove_kept(j, 99, &err), ST_FATAL);
	journal_close(&j);
}

/* ---- notices ---- */

struct told {
	size_t n;
	char line[8][200];
};

static void each_notice(void *ctx, const struct journal_notice *n)
{
	struct told *t = ctx;

	assert_true(t->n < N_ELEMENTS(t->line));
	snprintf(t->line[t->n++], sizeof(t->line[0]), "%.*s|%u|%lld|%s|%s|%s|%s",
		n->uidl ? (int)n->uidl_n : 1, n->uidl ? n->uidl : "-", n->number,
		(long long)n->size, n->message_id, n->subject, n->kind, n->text);
}

static void each_kind(void *ctx, const char *kind)
{
	struct told *t = ctx;

	snprintf(t->line[t->n++], sizeof(t->line[0]), "%s", kind);
}

static void test_notices(void **state)
{
	struct journal *j = open_it();
	struct facts f = facts_of(1);
	struct told t = { 0 };
	struct ledger l = { 0 };
	int64_t first, second, id;

	(void)state;
	OK(journal_run_begin(j, 1, &first, &err));
	id = take(j, "u", 1);
	OK(journal_notice(j, id, "empty", "it is \x01 empty", &err));
	OK(journal_notice(j, id, "empty", "it is empty", &err)); /* replaces */
	OK(journal_notice(j, id, "substitute", "another", &err));
	OK(journal_notice(j, 0, "windowed", "only the newest are shown", &err));
	f.message_id = (char *)(uintptr_t) "<a@b>";
	f.subject = (char *)(uintptr_t) "Hi\r\nthere";
	OK(journal_notice_about(j, id, 12, &f, &err));
	OK(journal_run_end(j, first, 2, &l, 0, NULL, &err));
	OK(journal_run_begin(j, 3, &second, &err));
	OK(journal_notice(j, id, "empty", "once more", &err));
	reopen(&j);

	OK(journal_notices(j, first, each_notice, &t, &err));
	assert_int_equal(t.n, 3);
	assert_string_equal(
		t.line[0], "u|12|1001|<a@b>|Hi\\x0d\\x0athere|empty|it is empty");
	assert_string_equal(
		t.line[1], "u|12|1001|<a@b>|Hi\\x0d\\x0athere|substitute|another");
	assert_string_equal(t.line[2], "-|0|-1|||windowed|only the newest are shown");
	t.n = 0;
	OK(journal_notices(j, 0, each_notice, &t, &err));
	assert_int_equal(t.n, 4);
	t.n = 0;
	OK(journal_notice_kinds(j, id, each_kind, &t, &err));
	assert_int_equal(t.n, 3);
	assert_string_equal(t.line[2], "empty");
	journal_close(&j);
}

static void test_failed_in(void **state)
{
	struct journal *j = open_it();
	struct journal_row row;
	int64_t run;

	(void)state;
	OK(journal_run_begin(j, 1, &run, &err));
	failed(j, "u", NULL);
	row = row_of(j, "u");
	OK(journal_failed_in(j, row.id, run, &err));
	assert_int_equal(journal_failed_in(j, row.id, run + 1, &err), ST_END);
	journal_close(&j);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_version_1),
		TEST(test_verified),
		TEST(test_pages),
		TEST(test_removal),
		TEST(test_notices),
		TEST(test_failed_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
