/* t_source_mbox.c: where messages start and end in an mbox, and what is in them. */
#include "source_kit.h"

#define F "From ann@example.org Tue Nov 22 10:00:00 2016\n"
#define FC "From ann@example.org Tue Nov 22 10:00:00 2016\r\n"

static const struct {
	const char *name, *text;
	const char *messages[5];
} rows[] = {
	{ "one", F "S: a\n\nbody\n\n", { "S: a\n\nbody\n" } },
	{ "two", F "S: a\n\nbody\n\n" F "S: b\n\nx\n\n",
		{ "S: a\n\nbody\n", "S: b\n\nx\n" } },
	{ "no empty line at the end", F "S: a\n\nbody\n", { "S: a\n\nbody\n" } },
	{ "no line end at the end", F "S: a\n\nbody", { "S: a\n\nbody" } },
	{ "CRLF", FC "S: a\r\n\r\nbody\r\n\r\n" FC "S: b\r\n\r\nx\r\n\r\n",
		{ "S: a\r\n\r\nbody\r\n", "S: b\r\n\r\nx\r\n" } },
	{ "blank lines before", "\n\r\n" F "S: a\n\nx\n", { "S: a\n\nx\n" } },
	{ "empty body", F "S: a\n\n\n" F "S: b\n\n\n", { "S: a\n\n", "S: b\n\n" } },
	{ "header only", F "S: a\n\n" F "S: b\n\n", { "S: a\n", "S: b\n" } },
	{ "empty message", F "\n" F "S: b\n\nx\n\n", { "", "S: b\n\nx\n" } },
	{ "blank lines at the end are the message's, save one",
		F "S: a\n\nx\n\n\n\n" F "S: b\n\ny\n\n\n",
		{ "S: a\n\nx\n\n\n", "S: b\n\ny\n\n" } },
	{ "quoted", F "S: a\n\n>From here\n>>From there\n> From\n>>Fromage\n\n",
		{ "S: a\n\nFrom here\n>From there\n> From\n>>Fromage\n" } },
	{ "quoted at the start", F ">From me\nS: a\n\nx\n\n",
		{ "From me\nS: a\n\nx\n" } },
	{ "no empty line before: not split", F "S: a\n\ntext\n" F "S: b\n\ny\n\n",
		{ "S: a\n\ntext\n" F "S: b\n\ny\n" } },
	{ "text that starts with From",
		F "S: a\n\ntext\n\nFrom then on, all went well.\n\n",
		{ "S: a\n\ntext\n\nFrom then on, all went well.\n" } },
	{ "a time without a year", F "S: a\n\ntext\n\nFrom 10:00 to 11:00 we met.\n\n",
		{ "S: a\n\ntext\n\nFrom 10:00 to 11:00 we met.\n" } },
	{ "just a sender", F "S: a\n\nx\n\nFrom bob@example.org\nS: b\n\ny\n\n",
		{ "S: a\n\nx\n", "S: b\n\ny\n" } },
	{ "just a word", F "S: a\n\nx\n\nFrom here\nwe go\n\n",
		{ "S: a\n\nx\n\nFrom here\nwe go\n" } },
	{ "a From_ line without date, first", "From bob\nS: a\n\nx\n",
		{ "S: a\n\nx\n" } },
	{ "zones and more",
		"From a@b Tue Nov 22 10:00:00 +0100 2016\nS: a\n\nx\n\n"
		"From \"Ann B\" <a@b> Tue Nov 22 10:00 2016 MET remote from h\nS: b\n\ny\n\n"
		"From a@b Tue, 22 Nov 2016 10:00:00 +0000\nS: c\n\nz\n\n",
		{ "S: a\n\nx\n", "S: b\n\ny\n", "S: c\n\nz\n" } },
	{ "Content-Length, to the next",
		F "Content-Length: 65\n\nx\n\n" F "no quoting here\n\n" F
		  "S: b\n\ny\n\n",
		{ "Content-Length: 65\n\nx\n\n" F "no quoting here\n",
			"S: b\n\ny\n" } },
	{ "nothing is quoted, as one message shows",
		F "Content-Length: 65\n\nx\n\n" F "no quoting here\n\n" F
		  "Content-Length: 8\n\n>From a\n\n" F "S: b\n\n>From b\n\n",
		{ "Content-Length: 65\n\nx\n\n" F "no quoting here\n",
			"Content-Length: 8\n\n>From a\n", "S: b\n\nFrom b\n" } },
	{ "Content-Length that leads nowhere",
		F "Content-Length: 4\n\nx\n\n" F "S: b\n\ny\n\n",
		{ "Content-Length: 4\n\nx\n", "S: b\n\ny\n" } },
	{ "Content-Length behind the end",
		F "Content-Length: 4000\n\nx\n\n" F "S: b\n\ny\n\n",
		{ "Content-Length: 4000\n\nx\n", "S: b\n\ny\n" } },
	{ "Content-Length that is none",
		F "Content-Length: -2\n\nx\n\n" F
		  "Content-Length: 99999999999999999999999\n\ny\n\n",
		{ "Content-Length: -2\n\nx\n",
			"Content-Length: 99999999999999999999999\n\ny\n" } },
	{ "quoted where it is measured",
		F "Content-Length: 8\n\n>From a\n\n" F "S: b\n\n>From b\n\n",
		{ "Content-Length: 8\n\nFrom a\n", "S: b\n\nFrom b\n" } },
	{ "empty", "", { NULL } },
	{ "only blank lines", "\n\n", { NULL } },
};

static void check(const char *name, const struct taken *t, const char *const *want)
{
	size_t i;

	for (i = 0; i < t->n || (i < 5 && want[i]); i++) {
		if (i == t->n || i == 5 || !want[i])
			fail_msg("%s: %zu messages", name, t->n);
		assert_int_equal(t->v[i].rc, ST_OK);
		if (strcmp(buf_str(&t->v[i].bytes), want[i]) != 0)
			fail_msg("%s: message %zu: \"%s\", not \"%s\"", name, i,
				buf_str(&t->v[i].bytes), want[i]);
	}
}

static void test_rows(void **state)
{
	struct taken t;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		put_text("box", rows[i].text);
		take_all(&t, "mbox", "box");
		if (t.rc != ST_OK)
			fail_msg("%s: %s", rows[i].name, t.err.text);
		check(rows[i].name, &t, rows[i].messages);
		drop(&t);
	}
}

/* Behind so much that the window's end meets each byte of it. */
static void test_windows(void **state)
{
	static const char tail[] = "\n\n" F "S: a\n\n>From a\n>>From b\nx\n\n" F
				   "S: b\n\ny";
	const size_t window = 256 * 1024;
	size_t before;
	char *text = xmalloc(2 * window);
	struct taken t;

	(void)state;
	for (before = window - sizeof(tail); before < window + 2; before++) {
		const size_t head = strlen(F "S: z\n\n");

		memset(text, 'z', before);
		memcpy(text, F "S: z\n\n", head);
		memcpy(text + before, tail, sizeof(tail) - 1);
		put("box", text, before + sizeof(tail) - 1);
		take_all(&t, "mbox", "box");
		assert_int_equal(t.n, 3);
		assert_int_equal(t.v[0].bytes.n, before + 1 - strlen(F));
		assert_string_equal(
			buf_str(&t.v[1].bytes), "S: a\n\nFrom a\n>From b\nx\n");
		assert_string_equal(buf_str(&t.v[2].bytes), "S: b\n\ny");
		drop(&t);
	}
	free(text);
}

/* Cut anywhere: no more than what is there, and all of it is given. */
static void test_cut(void **state)
{
	static const char text[] = F "S: a\n\nbody\n>From x\n\n" FC
				     "S: b\r\n\r\nx\r\n\r\n" F
				     "Content-Length: 3\n\nabc\n\n" F "S: d\n\n";
	struct taken t;
	size_t n, i;

	(void)state;
	for (n = 5; n < sizeof(text); n++) {
		put("box", text, n);
		take_all(&t, "mbox", "box");
		assert_int_equal(t.rc, ST_OK);
		assert_true(t.n >= 1 && t.n <= 4);
		for (i = 0; i < t.n; i++)
			assert_int_equal(t.v[i].rc, ST_OK);
		drop(&t);
	}
	for (n = 1; n < 5; n++) {
		put("box", text, n);
		take_all(&t, "mbox", "box");
		assert_int_equal(t.rc, ST_DENIED);
		assert_int_equal(t.err.exit, EX_DATAERR);
		drop(&t);
	}
}

/* ---- what else is known ---- */

static const struct {
	const char *from, *header, *flags;
	int64_t utc; /* 0: not known */
} facts[] = {
	{ "a@b Tue Nov 22 10:00:00 2016", "S: a\n", "", 1479808800 },
	{ "a@b Tue Nov  1 10:00:00 2016", "Status: RO\n", "S", 1477994400 },
	{ "a@b Tue Nov 22 10:00:00 +0100 2016", "X-Status: AF\n", "RF", 1479805200 },
	{ "a@b Tue Nov 22 10:00:00 2016 -0500", "x-status: TR\n", "SD", 1479826800 },
	{ "a@b Tue Nov 22 10:00 2016", "Status: O\n", "", 1479808800 },
	{ "- Tue Nov 22 10:00:00 2016", "X-Mozilla-Status: 0007\n", "SRF", 0 },
	{ "- Tue Nov 22 10:00:00 2016", "X-Mozilla-Status: 0008\n", "", 0 },
	{ "a@b Thu Feb 31 10:00:00 2016", "S: a\n", "", 0 },
	{ "a@b", "Subject: Status: R\n Status: R\n", "", 0 },
};

static void test_facts(void **state)
{
	struct taken t;
	char flags[8];
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(facts); i++) {
		char *text = xasprintf(
			"From %s\n%s\nStatus: R\n\n", facts[i].from, facts[i].header);

		put_text("Old mail.mbox", text);
		take_all(&t, "mbox", "Old mail.mbox");
		assert_int_equal(t.n, 1);
		assert_string_equal(t.v[0].folder, "Old mail");
		assert_string_equal(flags_of(&t.v[0], flags), facts[i].flags);
		assert_int_equal(t.v[0].o.date.known, facts[i].utc != 0);
		if (t.v[0].o.date.known)
			assert_int_equal(t.v[0].o.date.utc, facts[i].utc);
		drop(&t);
		free(text);
	}
}

static void test_folders(void **state)
{
	static const char *const names[][2] = { { "mbox", "" }, { "INBOX", "" },
		{ "inbox.mbox", "" }, { "Sent", "Sent" }, { ".mbox", ".mbox" },
		{ "a.b.mbox", "a.b" }, { "x.mboxrd", "x.mboxrd" } };
	struct taken t;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(names); i++) {
		put_text(names[i][0], F "S: a\n\nx\n");
		take_all(&t, "mbox", names[i][0]);
		assert_string_equal(t.v[0].folder, names[i][1]);
		drop(&t);
	}
}

/* ---- from run to run ---- */

/* Notes of mail programs, growth and order do not change what a message is called. */
static void test_names(void **state)
{
	struct taken a, b;

	(void)state;
	put_text("box", F "S: a\n\nx\n\n" F "S: b\n\ny\n\n" F "S: a\n\nx\n\n");
	take_all(&a, "mbox", "box");
	put_text("box",
		F "S: c\n\nnew\n\n" F "S: a\nStatus: RO\nContent-Length: 2\n\nx\n\n" F
		  "X-Mozilla-Status: 0001\nS: b\n\ny\n\n" F "S: a\n\nx\n\n");
	take_all(&b, "mbox", "box");
	assert_int_equal(a.n, 3);
	assert_int_equal(b.n, 4);
	assert_string_equal(a.v[0].uidl, b.v[1].uidl);
	assert_string_equal(a.v[1].uidl, b.v[2].uidl);
	assert_string_equal(a.v[2].uidl, b.v[3].uidl);
	assert_string_equal(a.v[0].uidl, a.v[2].uidl);
	assert_int_equal(a.v[0].occurrence, 1);
	assert_int_equal(a.v[1].occurrence, 1);
	assert_int_equal(a.v[2].occurrence, 2);
	assert_int_equal(b.v[3].occurrence, 2);
	assert_string_not_equal(b.v[0].uidl, b.v[1].uidl);
	drop(&a);
	drop(&b);
}

static void append(const char *name, const char *text)
{
	char *path = at(name);
	FILE *f = fopen(path, "ae");

	fputs(text, f);
	fclose(f);
	free(path);
}

/* It is written to after the listing. */
static void test_changes(void **state)
{
	struct endpoint end = { 0 };
	struct taken t;
	struct source *s;

	(void)state;
	put_text("box", F "S: a\n\nx\n\n" F "S: b\n\ny\n\n");
	s = open_source(&end, &t, "mbox", "box");
	append("box", F "S: c\n\nz\n\n");
	get(s, &t, 1);
	with_text(&t, "S: a\n\nx\n");
	get(s, &t, 2);
	with_text(&t, "S: b\n\ny\n");
	put_text("box", F "S: b\n\ny\n\n" F "S: a\n\nx\n\n" F "S: c\n\nz\n\n");
	get(s, &t, 1);
	assert_int_equal(t.v[0].rc, ST_RETRY);
	put_text("box", "x");
	get(s, &t, 2);
	assert_int_equal(t.v[1].rc, ST_RETRY);
	close_source(s, &t);
	endpoint_release(&end);
	drop(&t);
}

static void test_refused(void **state)
{
	static const char *const bad[] = { "S: a\n\nx\n", "x\nFrom a@b\n", "Fro",
		"\n\n>From a\n", "\0\0\0" };
	struct taken t;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(bad); i++) {
		put("box", bad[i], bad[i][0] ? strlen(bad[i]) : 3);
		take_all(&t, "mbox", "box");
		assert_int_equal(t.rc, ST_DENIED);
		assert_int_equal(t.err.exit, EX_DATAERR);
		drop(&t);
	}
	free(at("dir/"));
	take_all(&t, "mbox", "dir");
	assert_int_equal(t.rc, ST_DENIED);
	drop(&t);
	take_all(&t, "mbox", "nowhere");
	assert_int_equal(t.rc, ST_DENIED);
	drop(&t);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_root, drop_root)
	const struct CMUnitTest tests[] = {
		TEST(test_rows),
		TEST(test_windows),
		TEST(test_cut),
		TEST(test_facts),
		TEST(test_folders),
		TEST(test_names),
		TEST(test_changes),
		TEST(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
