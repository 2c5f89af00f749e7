/*
 * t_keeping_crypt.c: holds and retention in encrypted archives: who has a key does what
 * he does elsewhere, who has none holds numbers, and nobody else is told what for.
 */
#include "t_closed.h"

/* ---- holds ---- */

static const char matter[] = "Smith v. Zanzibar", reason[] = "xylophone settled";

static enum status hold(const struct closed *c, const char *word, bool future,
	struct archive_held *out, struct err *err)
{
	char *list[] = { (char *)(uintptr_t)word };
	const struct archive_holding h = { .matter = matter,
		.words = list,
		.words_n = word ? 1 : 0,
		.future = future,
		.w = &words,
		.identities = c->ids };

	*err = (struct err)ERR_INIT;
	return archive_hold_place(c->at, &h, out, err);
}

static void must_hold(const struct closed *c, const char *word, bool future, uint64_t n)
{
	struct archive_held held;
	struct err err;

	ok(hold(c, word, future, &held, &err), &err);
	assert_int_equal(held.n, n);
	assert_false(held.open_unknown);
}

static void load(const struct closed *c, struct archive_keeping **k)
{
	const struct archive_access access = { .identities = c->ids, .closed = true };
	struct archive_reader *r = NULL;
	struct err err = ERR_INIT;

	ok(archive_read_as(&r, c->at, &access, &err), &err);
	ok(archive_keeping_load(k, r, &words, &err), &err);
	archive_done(&r);
}

static void nothing_told(const struct closed *c)
{
	static const char *const texts[] = { matter, reason, "Zanzibar", "Sent",
		"line 6", "example.net", "six years", "the board" };
	size_t i;

	for (i = 0; i < N_ELEMENTS(texts); i++)
		not_in(c->at, texts[i], strlen(texts[i]));
}

static void test_hold(void **state)
{
	const struct archive_hold *h;
	struct archive_keeping *k = NULL;
	struct archive_disposed out;
	struct archive_held held;
	struct err err = ERR_INIT;
	struct closed c;
	struct picked p;
	unsigned kind;
	size_t n;

	(void)state;
	for (kind = 0; kind < 2; kind++) {
		closed_open(&c, ARCHIVE_GZ, kind);
		must_hold(&c, "folder:Sent", true, 4);
		must_hold(&c, "subject:line 6", false, 1);
		/* Who has no key can hold numbers, and all; he cannot choose by what he
		 * cannot read. */
		read_as(&c, NULL);
		must_hold(&c, "3-4", false, 2);
		must_hold(&c, NULL, false, ALL);
		assert_int_equal(
			hold(&c, "folder:Sent", false, &held, &err), ST_DENIED);
		assert_int_equal(err.exit, EX_NOPERM);
		assert_int_equal(hold(&c, "99", false, &held, &err), ST_DENIED);
		assert_int_equal(err.exit, EX_PARTIAL);
		ok(archive_hold_release(c.at, 4, reason, NULL, &err), &err);
		load(&c, &k);
		h = archive_holds(k, &n);
		assert_int_equal(n, 4);
		assert_null(h[0].matter);
		assert_null(h[3].reason);
		assert_int_equal(h[0].words_n, 0);
		assert_string_equal(h[1].seqs, "7");
		assert_string_equal(h[2].seqs, "3-4");
		assert_string_equal(h[3].seqs, "1-14");
		assert_true(h[3].released && !h[2].released);
		archive_keeping_free(&k);
		/* Somebody else's key opens nothing. */
		read_as(&c, keys.other);
		assert_int_equal(hold(&c, "3-4", false, &held, &err), ST_DENIED);
		assert_int_equal(err.exit, EX_NOPERM);
		/* Who has another one of the right keys sees all of it. */
		read_as(&c, keys.key[kind][1]);
		load(&c, &k);
		h = archive_holds(k, &n);
		assert_int_equal(n, 4);
		assert_string_equal(h[0].matter, matter);
		assert_string_equal(h[0].words[0], "folder:Sent");
		assert_string_equal(h[3].reason, reason);
		archive_keeping_free(&k);
		ok(dispose(c.at, "2-7", false, &out, &p, &err), &err);
		assert_int_equal(out.refused, 5); /* 2, 6 in Sent; 3, 4; 7 */
		nothing_told(&c);
		check_state(c.at, ALL, 0);
		check_keyless(c.at, ALL, 0);
		closed_drop(&c);
	}
}

/* A segment that is not there has messages, too: whoever holds must not believe that he
 * does. */
static void test_hold_missing(void **state)
{
	unsigned no;

	(void)state;
	for (no = 1; no <= 3; no++) {
		struct archive_held held;
		struct err err = ERR_INIT;
		struct closed c;
		char *path;

		closed_open(&c, ARCHIVE_GZ, 0);
		path = xasprintf("%s/segments/acme-%06u.tar.gz.age", c.at, no);
		assert_int_equal(unlink(path), 0);
		for (;; read_as(&c, NULL)) {
			err = (struct err)ERR_INIT;
			assert_int_equal(hold(&c, NULL, false, &held, &err), ST_DENIED);
			assert_int_equal(err.exit, EX_DATAERR);
			assert_non_null(strstr(err.text, "is missing"));
			if (!c.ids)
				break;
		}
		assert_false(exists(c.at, "policy/hold-000001.json"));
		free(path);
		closed_drop(&c);
	}
}

/* What is not sealed yet is not among what can be read: that is told. */
static void test_hold_open(void **state)
{
	struct archive_held held;
	struct archive_writer *w;
	struct err err = ERR_INIT;
	struct closed c;

	(void)state;
	closed_open(&c, ARCHIVE_GZ, 0);
	w = open_crypt(c.at, c.st, ARCHIVE_GZ, NULL);
	put_one(w, spool, 20);
	ok(archive_commit(w, 0, &err), &err);
	archive_close(&w);
	ok(hold(&c, NULL, false, &held, &err), &err);
	assert_true(held.open_unknown);
	assert_int_equal(held.n, ALL);
	closed_drop(&c);
}

/* ---- retention ---- */

static enum status set(
	const struct closed *c, unsigned years, const char *authority, struct err *err)
{
	char word[] = "from:example.org";
	char *list[] = { word };
	const struct archive_class class = { .name = "six years",
		.years = years,
		.words = list,
		.words_n = 1,
		.authority = authority };
	unsigned no;

	*err = (struct err)ERR_INIT;
	return archive_retention_set(c->at, &class, &words, c->ids, &no, err);
}

static void test_retention(void **state)
{
	const struct archive_class *class;
	struct archive_keeping *k = NULL;
	struct archive_disposed out;
	struct err err = ERR_INIT;
	struct closed c;
	struct picked p;
	unsigned kind;
	size_t n;

	(void)state;
	for (kind = 0; kind < 2; kind++) {
		closed_open(&c, ARCHIVE_GZ, kind);
		read_as(&c, NULL);
		ok(set(&c, 60, NULL, &err), &err);
		assert_int_equal(set(&c, 70, NULL, &err), ST_DENIED);
		assert_int_equal(err.exit, EX_NOPERM);
		read_as(&c, keys.key[kind][1]);
		ok(set(&c, 70, NULL, &err), &err);
		assert_int_equal(set(&c, 69, NULL, &err), ST_DENIED);
		assert_int_equal(err.exit, EX_USAGE);
		ok(set(&c, 80, "the board", &err), &err);
		load(&c, &k);
		class = archive_classes(k, &n);
		assert_int_equal(n, 1);
		assert_string_equal(class->name, "six years");
		assert_string_equal(class->words[0], "from:example.org");
		assert_string_equal(class->authority, "the board");
		archive_keeping_free(&k);
		ok(dispose(c.at, "1", false, &out, &p, &err), &err);
		assert_int_equal(p.last.fate, ARCHIVE_KEPT);
		nothing_told(&c);
		check_keyless(c.at, ALL, 0);
		closed_drop(&c);
	}
}

/* ---- who can write to the archive ---- */

static void test_damaged(void **state)
{
	static const char *const names[] = { "policy/hold-000001.json",
		"archive.json" };
	struct archive_held held;
	struct err err = ERR_INIT;
	struct closed c;
	size_t i, n;

	(void)state;
	for (i = 0; i < N_ELEMENTS(names); i++) {
		char *path, *text, *at;

		closed_open(&c, ARCHIVE_GZ, 0);
		must_hold(&c, "7", false, 1);
		path = xasprintf("%s/%s", c.at, names[i]);
		text = slurp(path, &n);
		/* The words, or whom they are for. */
		at = i ? strstr(text, keys.to[0][1]) : strstr(text, "\",\"seqs\"") - 20;
		assert_non_null(at);
		if (i)
			memcpy(at, keys.other_to, strlen(keys.other_to));
		else
			*at ^= 1;
		spit(path, text, n);
		if (i) {
			assert_int_equal(hold(&c, "8", false, &held, &err), ST_DENIED);
		} else {
			err = (struct err)ERR_INIT;
			assert_int_equal(
				archive_hold_release(c.at, 1, reason, c.ids, &err),
				ST_DENIED);
		}
		assert_int_equal(err.exit, EX_DATAERR);
		free(path);
		free(text);
		closed_drop(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hold),
		cmocka_unit_test(test_hold_missing),
		cmocka_unit_test(test_hold_open),
		cmocka_unit_test(test_retention),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
