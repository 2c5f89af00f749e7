/*
 * t_source_tree.c: Maildirs and trees of files: what is a message and where it was,
 * while other programs go on with it.
 */
#include "source_kit.h"

#include <sys/time.h>

/* ---- what names say ---- */

static const struct {
	const char *name, *folder, *flags;
} maildir_rows[] = {
	{ "new/1700000000.a.h", "", "" },
	{ "cur/1700000001.b.h:2,", "", "" },
	{ "cur/1700000002.c.h:2,S", "", "S" },
	{ "cur/1700000003.d.h,S=5:2,DFRS", "", "SRFD" },
	{ "cur/1700000004.e.h:2,PT", "", "" },
	{ "cur/1700000005.f.h", "", "" },
	{ "cur/named.eml", "", "" },
	{ ".Sent/cur/1700000006.g:2,S", "Sent", "S" },
	{ ".Sent.2020/new/1700000007.h", "Sent/2020", "" },
	{ ".Entw&APw-rfe/cur/i:2,D", "Entw\303\274rfe", "D" },
	{ ".a&b/cur/j:2,", "a&b", "" }, /* no modified UTF-7: as it is */
	{ "Lists/dev/cur/k:2,", "Lists/dev", "" },
};

static void test_maildir(void **state)
{
	struct taken t;
	char flags[8];
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(maildir_rows); i++) {
		char *name = xasprintf("m/%s", maildir_rows[i].name);

		put_text(name, maildir_rows[i].name);
		free(name);
	}
	put_text("m/dovecot-uidlist", "3 V1\n");
	put_text("m/tmp/half", "x");
	put_text("m/.Sent.2020/tmp/half", "x");
	put_text("m/cur/.hidden", "x");
	take_all(&t, "maildir", "m");
	assert_int_equal(t.rc, ST_OK);
	assert_true(t.listing.steady);
	assert_int_equal(t.n, N_ELEMENTS(maildir_rows));
	for (i = 0; i < N_ELEMENTS(maildir_rows); i++) {
		const struct got *g = with_text(&t, maildir_rows[i].name);

		assert_string_equal(g->folder, maildir_rows[i].folder);
		assert_string_equal(flags_of(g, flags), maildir_rows[i].flags);
		assert_false(g->o.bare);
		assert_true(g->o.date.known);
		assert_int_equal(g->size, strlen(maildir_rows[i].name));
		assert_null(strstr(g->uidl, ":2,"));
		assert_null(strstr(g->uidl, "cur/"));
	}
	drop(&t);
}

static void test_tree(void **state)
{
	static const struct {
		const char *name, *folder; /* NULL: no message */
	} rows[] = {
		{ "e/1.eml", "" },
		{ "e/Sent/2.EML", "Sent" },
		{ "e/Sent/old/3.eml", "Sent/old" },
		{ "e/.dot/4.eml", ".dot" },
		{ "e/box/cur/5:2,S", "box" },
		{ "e/.box.in/new/6", "box/in" },
		{ "e/readme.txt", NULL },
		{ "e/.eml", NULL },
		{ "e/.box.in/tmp/7", NULL },
		{ "e/new/8.eml", "new" },
		{ "e/x.eml.gz", NULL },
		{ "e/metadata/messages.csv", NULL },
	};
	size_t i, n = 0;
	struct taken t;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++)
		put_text(rows[i].name, rows[i].name);
	take_all(&t, "eml", "e");
	assert_int_equal(t.rc, ST_OK);
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		if (!rows[i].folder)
			continue;
		assert_string_equal(
			with_text(&t, rows[i].name)->folder, rows[i].folder);
		n++;
	}
	assert_int_equal(t.n, n);
	/* Its time says when it was written, not when it came. */
	assert_true(with_text(&t, "e/1.eml")->o.bare);
	assert_false(with_text(&t, "e/box/cur/5:2,S")->o.bare);
	drop(&t);
	take_all(&t, "eml", "e/readme.txt");
	assert_int_equal(t.rc, ST_OK);
	assert_int_equal(t.n, 1);
	assert_string_equal(t.v[0].folder, "");
	drop(&t);
	take_all(&t, "maildir", "e"); /* has some in it */
	assert_int_equal(t.n, 2);
	drop(&t);
	take_all(&t, "maildir", "e/Sent");
	assert_int_equal(t.rc, ST_DENIED);
	assert_int_equal(t.err.exit, EX_DATAERR);
	drop(&t);
	take_all(&t, "eml", "nowhere");
	assert_int_equal(t.rc, ST_DENIED);
	drop(&t);
}

/* Only these, whatever they are called. */
static void test_only(void **state)
{
	struct endpoint end = { 0 };
	struct source *s;
	struct taken t;
	char *url = NULL;

	(void)state;
	put_text("o/a", "a");
	put_text("o/b.eml", "b");
	put_text("o/c.eml", "c");
	url = xasprintf("eml:%s/o", root);
	assert_int_equal(url_parse(&end, url, NULL), ST_OK);
	end.only = xcalloc(2, sizeof(char *));
	end.only[end.n_only++] = xstrdup("a");
	end.only[end.n_only++] = xstrdup("c.eml");
	s = open_source(&end, &t, "eml", "o");
	assert_int_equal(t.n, 2);
	get(s, &t, 1);
	get(s, &t, 2);
	with_text(&t, "a");
	with_text(&t, "c");
	close_source(s, &t);
	drop(&t);
	endpoint_release(&end);
	free(url);
}

/* ---- what is no file ---- */

static void test_odd(void **state)
{
	char *path;
	struct taken t;

	(void)state;
	put_text("m/cur/1:2,", "one");
	put_text("m/new/2", "two");
	put_text("away/3.eml", "three");
	path = at("m/cur/link:2,");
	assert_int_equal(symlink("/etc/passwd", path), 0);
	free(path);
	path = at("m/.linked");
	assert_int_equal(symlink("../away", path), 0);
	free(path);
	path = at("m/new/pipe");
	assert_int_equal(mkfifo(path, 0600), 0);
	free(path);
	path = at("m/loop.eml");
	assert_int_equal(symlink("loop.eml", path), 0);
	free(path);
	take_all(&t, "eml", "m");
	assert_int_equal(t.rc, ST_OK);
	assert_int_equal(t.n, 2);
	drop(&t);
}

/* What cannot be read is told, each time. */
static void test_unreadable(void **state)
{
	char *dir, *file;
	struct taken t;
	size_t i, bad = 0;

	(void)state;
	put_text("m/cur/1:2,", "one");
	put_text("m/cur/2:2,", "two");
	put_text("m/.Sub/cur/3:2,", "three");
	dir = at("m/.Sub/cur");
	file = at("m/cur/2:2,");
	chmod(dir, 0);
	chmod(file, 0);
	if (access(file, R_OK) == 0)
		goto out; /* nothing is closed to root */
	take_all(&t, "maildir", "m");
	assert_int_equal(t.rc, ST_OK);
	assert_int_equal(t.n, 3);
	assert_int_equal(t.listing.unreadable, 1);
	for (i = 0; i < t.n; i++) {
		bad += t.v[i].rc == ST_SKIP;
		assert_int_not_equal(t.v[i].exit, EX_TEMPFAIL);
	}
	assert_int_equal(bad, 2);
	with_text(&t, "one");
	drop(&t);
out:
	chmod(dir, 0700);
	free(dir);
	free(file);
}

static void test_deep(void **state)
{
	struct buf name = BUF_INIT(4096);
	struct taken t;
	unsigned i;

	(void)state;
	buf_adds(&name, "d/");
	for (i = 0; i < 80; i++)
		buf_adds(&name, "d/");
	buf_adds(&name, "x.eml");
	put_text(buf_str(&name), "deep");
	put_text("d/flat.eml", "flat");
	take_all(&t, "eml", "d");
	assert_int_equal(t.n, 2);
	assert_int_equal(t.listing.unreadable, 1);
	with_text(&t, "flat");
	drop(&t);
	buf_free(&name);
}

/* ---- others are at work ---- */

static void move(const char *from, const char *to)
{
	char *a = at(from), *b = at(to);

	assert_int_equal(rename(a, b), 0);
	free(a);
	free(b);
}

static uint32_t number_of(const struct taken *t, const char *uidl)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		if (strcmp(t->v[i].uidl, uidl) == 0)
			return (uint32_t)i + 1;
	fail_msg("%s is not listed", uidl);
	return 0;
}

static void test_changes(void **state)
{
	struct endpoint end = { 0 };
	struct taken t;
	struct source *s;
	char flags[8], *path;
	unsigned i;

	(void)state;
	for (i = 0; i < 6; i++) {
		char name[32], text[8];

		snprintf(name, sizeof(name), "m/new/17000000%02u.x", i);
		snprintf(text, sizeof(text), "n%u", i);
		put_text(name, text);
	}
	put_text("m/cur/y:2,", "y");
	s = open_source(&end, &t, "maildir", "m");
	assert_int_equal(t.n, 7);
	move("m/new/1700000000.x", "m/cur/1700000000.x:2,S");
	move("m/new/1700000003.x", "m/cur/1700000003.x:2,FR");
	move("m/cur/y:2,", "m/cur/y:2,T");
	path = at("m/new/1700000004.x");
	unlink(path);
	free(path);
	get(s, &t, number_of(&t, "1700000003.x"));
	get(s, &t, number_of(&t, "1700000004.x"));
	get(s, &t, number_of(&t, "1700000000.x"));
	get(s, &t, number_of(&t, "1700000001.x"));
	get(s, &t, number_of(&t, "y"));
	assert_string_equal(flags_of(with_text(&t, "n0"), flags), "S");
	assert_string_equal(flags_of(with_text(&t, "n3"), flags), "RF");
	with_text(&t, "n1");
	with_text(&t, "y");
	/* Perhaps another session sees more of it. */
	assert_int_equal(t.v[number_of(&t, "1700000004.x") - 1].rc, ST_SKIP);
	assert_int_equal(t.v[number_of(&t, "1700000004.x") - 1].exit, EX_TEMPFAIL);
	/* And moved again after that. */
	move("m/cur/1700000003.x:2,FR", "m/cur/1700000003.x:2,FRS");
	get(s, &t, number_of(&t, "1700000003.x"));
	assert_string_equal(flags_of(with_text(&t, "n3"), flags), "SRF");
	close_source(s, &t);
	endpoint_release(&end);
	drop(&t);
}

/* The same name twice in one folder is two messages, and neither is lost. */
static void test_twins(void **state)
{
	struct taken t;

	(void)state;
	put_text("m/cur/1.x:2,S", "first");
	put_text("m/cur/1.x:2,", "second");
	put_text("m/new/1.x", "third");
	put_text("m/.Sent/cur/1.x:2,S", "fourth");
	take_all(&t, "maildir", "m");
	assert_int_equal(t.n, 4);
	with_text(&t, "first");
	with_text(&t, "second");
	with_text(&t, "third");
	assert_int_equal(with_text(&t, "first")->occurrence +
			with_text(&t, "second")->occurrence +
			with_text(&t, "third")->occurrence,
		6);
	assert_int_equal(with_text(&t, "fourth")->occurrence, 1);
	drop(&t);
}

/* And one of them gets a flag while they are read. */
static void test_twins_change(void **state)
{
	struct endpoint end = { 0 };
	struct taken t;
	struct source *s;

	(void)state;
	put_text("m/cur/1.x:2,S", "first");
	put_text("m/new/1.x", "second");
	s = open_source(&end, &t, "maildir", "m");
	assert_int_equal(t.n, 2);
	move("m/cur/1.x:2,S", "m/cur/1.x:2,FS");
	get(s, &t, 1);
	get(s, &t, 2);
	with_text(&t, "first");
	with_text(&t, "second");
	close_source(s, &t);
	endpoint_release(&end);
	drop(&t);
}

/* ---- times ---- */

static void set_time(const char *name, time_t when)
{
	const struct timeval tv[2] = { { when, 0 }, { when, 0 } };
	char *path = at(name);

	assert_int_equal(utimes(path, tv), 0);
	free(path);
}

static void test_times(void **state)
{
	const time_t day = 86400, old = 1500000000;
	struct taken t;
	char name[64];
	unsigned i, kept;

	(void)state;
	for (kept = 0; kept < 2; kept++) {
		for (i = 0; i < 30; i++) {
			snprintf(name, sizeof(name), "m/cur/%ld.%u:2,",
				(long)(old + i * day), i);
			put_text(name, "x");
			set_time(name, kept ? old + 7 + i * day : 1790000000 + i);
		}
		take_all(&t, "maildir", "m");
		assert_int_equal(t.n, 30);
		for (i = 0; i < 30; i++)
			assert_int_equal(
				t.v[i].o.date.utc, old + (kept ? 7 : 0) + i * day);
		drop(&t);
	}
	/* A few say nothing. */
	put_text("f/cur/1500000000.1:2,", "x");
	set_time("f/cur/1500000000.1:2,", 1790000000);
	take_all(&t, "maildir", "f");
	assert_int_equal(t.v[0].o.date.utc, 1790000000);
	drop(&t);
}

/* ---- the rest of the contract ---- */

static void test_contract(void **state)
{
	struct endpoint end = { 0 };
	struct err err = ERR_INIT;
	struct taken t;
	struct source *s;
	char *account, *want;

	(void)state;
	put_text("m/cur/1:2,", "one");
	put_text("m/cur/2:2,", "two");
	s = open_source(&end, &t, "maildir", "m/");
	account = s->ops->account(&end, &err);
	want = xasprintf("maildir:%s/m", root);
	assert_string_equal(account, want);
	assert_int_equal(s->ops->remove(s, 1, &err), ST_SKIP);
	assert_int_equal(s->ops->wait_ms(s), 0);
	assert_false(s->ops->overreached(s));
	s->ops->want(s, 1, 3);
	s->ops->want(s, 2, 3);
	s->ops->wind_down(s);
	close_source(s, &t);
	drop(&t);
	free(account);
	free(want);
	endpoint_release(&end);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_root, drop_root)
	const struct CMUnitTest tests[] = {
		TEST(test_maildir),
		TEST(test_tree),
		TEST(test_only),
		TEST(test_odd),
		TEST(test_unreadable),
		TEST(test_deep),
		TEST(test_changes),
		TEST(test_twins),
		TEST(test_twins_change),
		TEST(test_times),
		TEST(test_contract),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
