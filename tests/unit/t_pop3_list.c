/* t_pop3_list.c: listings, healthy and sick, and a very large one. */
#include "t_pop3.h"

#include <inttypes.h>

/*
 * A listing as text: "number,occurrence,size,uidl;" for each message, "-" for
 * what is not known.
 */
static void show(struct buf *b, const struct pop3_listing *l)
{
	const struct pop3_item *it;
	size_t i;

	for (i = 0; i < l->n; i++) {
		it = &l->items[i];
		buf_addf(b, "%" PRIu32 ",%" PRIu32 ",", it->number, it->occurrence);
		if (it->size == UINT64_MAX)
			buf_adds(b, "-,");
		else
			buf_addf(b, "%" PRIu64 ",", it->size);
		if (it->uidl_n)
			text_clean_add(b, pop3_uidl(l, it), it->uidl_n);
		else
			buf_addc(b, '-');
		buf_addc(b, ';');
	}
}

static const struct {
	const char *name, *list, *uidl, *want;
	size_t repeated, unreadable;
	uint64_t octets;
} rows[] = {
	{ "empty", "", "", "", 0, 0, 0 },
	{ "plain", "S: 1 10\nS: 2 20\n", "S: 1 a\nS: 2 b\n", "1,1,10,a;2,1,20,b;", 0, 0,
		30 },
	{ "blanks", "S:  1   10  \nS: \\t2\\t20\\t\n", "S: 1    a  \nS: 2 \\t b\\t\n",
		"1,1,10,a;2,1,20,b;", 0, 0, 30 },
	{ "+OK in front", "S: +OK 1 10\nS: +ok  2 20\n", "S: +OK 1 a\nS: +OK 2 b\n",
		"1,1,10,a;2,1,20,b;", 0, 0, 30 },
	{ "bare LF", "S- 1 10\\n2 20\\n\n", "S- 1 a\\n2 b\\n\n", "1,1,10,a;2,1,20,b;",
		0, 0, 30 },
	{ "descending", "S: 3 30\nS: 2 20\nS: 1 10\n", "S: 3 c\nS: 2 b\nS: 1 a\n",
		"1,1,10,a;2,1,20,b;3,1,30,c;", 0, 0, 60 },
	{ "shuffled", "S: 2 20\nS: 3 30\nS: 1 10\n", "S: 3 c\nS: 1 a\nS: 2 b\n",
		"1,1,10,a;2,1,20,b;3,1,30,c;", 0, 0, 60 },
	{ "gaps", "S: 5 50\nS: 900000 9\n", "S: 5 a\nS: 900000 b\n",
		"5,1,50,a;900000,1,9,b;", 0, 0, 59 },
	{ "UIDL shorter", "S: 1 10\nS: 2 20\nS: 3 30\n", "S: 1 a\nS: 3 c\n",
		"1,1,10,a;2,1,20,-;3,1,30,c;", 0, 0, 60 },
	{ "UIDL longer", "S: 2 20\n", "S: 1 a\nS: 2 b\nS: 3 c\n",
		"1,1,-,a;2,1,20,b;3,1,-,c;", 0, 0, 20 },
	{ "only LIST", "S: 1 10\n", "", "1,1,10,-;", 0, 0, 10 },
	{ "only UIDL", "", "S: 1 a\n", "1,1,-,a;", 0, 0, 0 },
	{ "empty UIDLs", "S: 1 10\nS: 2 20\nS: 3 30\n", "S: 1 \nS: 2\nS: 3 c\n",
		"1,1,10,-;2,1,20,-;3,1,30,c;", 0, 0, 60 },
	{ "sick numbers",
		"S: 0 10\nS: -1 10\nS: 4294967297 12\nS: 2147483648 1\nS: x\n"
		"S: \nS: 1x 10\nS: 99999999999999999999999 1\n",
		"S: 0 a\nS: x\nS: 2147483647 z\n", "2147483647,1,-,z;", 0, 10, 0 },
	{ "sick sizes",
		"S: 1 -1\nS: 2 99999999999999999999\nS: 3\nS: 4 12x\nS: 5 12 x\n"
		"S: 6 9223372036854775808\nS: 7 5000000000\n",
		"",
		"1,1,-,-;2,1,-,-;3,1,-,-;4,1,-,-;5,1,12,-;6,1,-,-;7,1,5000000000,-;", 0,
		0, 5000000012 },
	{ "number twice", "S: 1 10\nS: 1 11\nS: 2 20\nS: 1 12\n",
		"S: 1 a\nS: 2 b\nS: 1 c\nS: 2 b\n", "1,1,10,a;2,1,20,b;", 0, 4, 30 },
	{ "first one empty", "S: 1 10\n", "S: 1\nS: 1 c\n", "1,1,10,-;", 0, 1, 10 },
	{ "same UIDL", "S: 1 10\nS: 2 20\nS: 3 30\nS: 4 40\nS: 5 50\n",
		"S: 4 a\nS: 3 b\nS: 2 a\nS: 1 a\nS: 5 c\n",
		"1,1,10,a;2,2,20,a;3,1,30,b;4,3,40,a;5,1,50,c;", 3, 0, 150 },
	{ "same UIDL at last", "", "S: 1 a\nS: 2 b\nS: 3 c\nS: 4 aa\nS: 5 aa\n",
		"1,1,-,a;2,1,-,b;3,1,-,c;4,1,-,aa;5,2,-,aa;", 2, 0, 0 },
	{ "same UIDL, shorter", "", "S: 1 b\nS: 2 aa\nS: 3\nS: 4 b\n",
		"1,1,-,b;2,1,-,aa;3,1,-,-;4,2,-,b;", 2, 0, 0 },
	{ "odd bytes", "S: 1 1\nS: 2 1\nS: 3 1\nS: 4 1\nS: 5 1\n",
		"S: 1 a b\nS: 2 #x\nS: 3 \\xe9\nS: 4 \\x1b[2J\nS: 5 a\\x00b\n",
		"1,1,1,a b;2,1,1,#x;3,1,1,\\xE9;4,1,1,\\x1B[2J;5,1,1,a\\x00b;", 0, 0,
		5 },
	{ "one begins another", "",
		"S: 1 a\nS: 2 aa\nS: 3 aaa\nS: 4 aaaa\nS: 5 aaaaa\nS: 6 aaaaaa\n"
		"S: 7 aaaaaaa\nS: 8 aaaaaaaa\nS: 9 aaaaaaaaa\nS: 10 aaaaaaaaaa\n",
		"1,1,-,a;2,1,-,aa;3,1,-,aaa;4,1,-,aaaa;5,1,-,aaaaa;6,1,-,aaaaaa;"
		"7,1,-,aaaaaaa;8,1,-,aaaaaaaa;9,1,-,aaaaaaaaa;10,1,-,aaaaaaaaaa;",
		0, 0, 0 },
	{ "NUL tells apart", "S: 1 1\nS: 2 1\n", "S: 1 a\\x00b\nS: 2 a\\x00c\n",
		"1,1,1,a\\x00b;2,1,1,a\\x00c;", 0, 0, 2 },
};

static void one_listing(size_t i, bool ahead, size_t step)
{
	struct pop3_config cfg = joe();
	struct buf got = BUF_INIT(1 << 20);
	struct pop3_listing l;
	struct talk t;
	char *text, *want;

	if (ahead)
		text = xasprintf(HELLO_AHEAD LOGIN_AHEAD
			"C: LIST\nC: UIDL\nS: +OK\n%sS: .\nS: +OK\n%sS: .\n",
			rows[i].list, rows[i].uidl);
	else
		text = xasprintf(HELLO LOGIN
			"C: LIST\nSYNC\nS: +OK 2 messages\n%sS: .\nC: UIDL\nSYNC\n"
			"S: +OK\n%sS: .\n",
			rows[i].list, rows[i].uidl);
	talk_open(&t, text, step, &cfg, NULL);
	expect("login", step, &t.err, pop3_login(t.p, &t.err), ST_OK);
	expect(rows[i].name, step, &t.err, pop3_list(t.p, &l, &t.err), ST_OK);
	show(&got, &l);
	want = xstrdup(rows[i].want);
	if (strcasecmp(buf_str(&got), want) != 0)
		fail_msg("%s: %s, not %s", rows[i].name, buf_str(&got), want);
	if (l.repeated != rows[i].repeated || l.unreadable != rows[i].unreadable ||
		l.octets != rows[i].octets)
		fail_msg("%s: %zu repeated, %zu unreadable, %" PRIu64 " octets",
			rows[i].name, l.repeated, l.unreadable, l.octets);
	assert_true(l.uidl);
	assert_false(l.uidl_temporary);
	talk_end(&t, rows[i].name, step);
	buf_free(&got);
	free(want);
	free(text);
}

static void listings(void **state)
{
	size_t i, step;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++)
		for (step = 0; step < 300; step += step < 20 ? 1 : 17) {
			one_listing(i, false, step);
			one_listing(i, true, step);
		}
}

/* STAT is a hint that costs nothing: whatever it says, the listing comes. */
static void stat_first(void **state)
{
	static const struct {
		const char *reply, *words;
		uint64_t count, octets;
	} says[] = {
		{ "+OK 2 320", "2 320", 2, 320 },
		{ "+OK 2 320 and more", "2 320 and more", 2, 320 },
		{ "+OK", "", UINT64_MAX, UINT64_MAX },
		{ "+OK 2", "2", UINT64_MAX, UINT64_MAX },
		{ "+OK -2 320", "-2 320", UINT64_MAX, UINT64_MAX },
		{ "+OK 2 \\x1b[2J", "2 \\x1b[2J", UINT64_MAX, UINT64_MAX },
		{ "-ERR no", NULL, UINT64_MAX, UINT64_MAX },
	};
	struct pop3_config cfg = joe();
	struct pop3_listing l;
	struct talk t;
	size_t i, step;

	(void)state;
	cfg.stat = true;
	for (i = 0; i < 2 * N_ELEMENTS(says); i++) {
		bool ahead = i % 2;
		size_t k = i / 2;
		char *script = xasprintf(ahead ? HELLO_AHEAD LOGIN_AHEAD
				"C: STAT\nC: LIST\nC: UIDL\nS: %s\nS: +OK\nS: 1 10\n"
				"S: .\nS: +OK\nS: 1 a\nS: .\n"
					       : HELLO LOGIN
				"C: STAT\nS: %s\nC: LIST\nS: +OK\nS: 1 10\n"
				"S: .\nC: UIDL\nS: +OK\nS: 1 a\nS: .\n",
			says[k].reply);

		for (step = 0; step < 60; step++) {
			const char *words;

			talk_open(&t, script, step, &cfg, NULL);
			expect("login", step, &t.err, pop3_login(t.p, &t.err), ST_OK);
			expect(says[k].reply, step, &t.err, pop3_list(t.p, &l, &t.err),
				ST_OK);
			assert_int_equal(l.n, 1);
			assert_int_equal(l.stat_count, says[k].count);
			assert_int_equal(l.stat_octets, says[k].octets);
			words = pop3_server(t.p)->stat;
			assert_true(!words == !says[k].words);
			if (words)
				assert_string_equal(words, says[k].words);
			talk_end(&t, says[k].reply, step);
		}
		free(script);
	}
}

static void refused(void **state)
{
	static const struct {
		const char *name, *script;
		enum status st;
		int ex;
		bool temporary;
	} cases[] = {
		{ "no UIDL",
			HELLO LOGIN
			"C: LIST\nS: +OK\nS: 1 10\nS: .\nC: UIDL\nS: -ERR no\n",
			ST_OK, 0, false },
		{ "UIDL offered and refused",
			HELLO_AHEAD LOGIN_AHEAD
			"C: LIST\nC: UIDL\nS: +OK\nS: 1 10\nS: .\nS: -ERR no\n",
			ST_OK, 0, true },
		{ "no LIST", HELLO LOGIN "C: LIST\nS: -ERR busy\n", ST_RETRY,
			EX_TEMPFAIL, false },
		{ "LIST odd", HELLO LOGIN "C: LIST\nS: 1 10\nS: .\n", ST_RETRY,
			EX_PROTOCOL, false },
		{ "UIDL odd",
			HELLO_AHEAD LOGIN_AHEAD
			"C: LIST\nC: UIDL\nS: +OK\nS: 1 10\nS: .\nS: 1 a\nS: .\n",
			ST_RETRY, EX_PROTOCOL, false },
		{ "hangs up in LIST", HELLO LOGIN "C: LIST\nS: +OK\nS: 1 10\nEOF\n",
			ST_RETRY, EX_TEMPFAIL, false },
		{ "hangs up in UIDL",
			HELLO_AHEAD LOGIN_AHEAD
			"C: LIST\nC: UIDL\nS: +OK\nS: 1 10\nS: .\nS: +OK\nS- 1\nEOF\n",
			ST_RETRY, EX_TEMPFAIL, false },
		{ "junk between",
			HELLO LOGIN "C: LIST\nS: +OK\nS: 1 10\nS: .\nS: .\nC~ UIDL\n",
			ST_RETRY, EX_PROTOCOL, false },
	};
	struct pop3_config cfg = joe();
	struct pop3_listing l;
	struct talk t;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(cases); i++) {
		talk_open(&t, cases[i].script, 1, &cfg, NULL);
		expect("login", 1, &t.err, pop3_login(t.p, &t.err), ST_OK);
		expect_err(cases[i].name, 1, &t.err, pop3_list(t.p, &l, &t.err),
			cases[i].st, cases[i].ex, "");
		if (cases[i].st == ST_OK) {
			assert_false(l.uidl);
			assert_int_equal(l.uidl_temporary, cases[i].temporary);
			assert_int_equal(l.n, 1);
			assert_null(pop3_uidl(&l, &l.items[0]));
		}
		if (cases[i].ex == EX_PROTOCOL)
			assert_int_equal(pop3_pipelining_failed(t.p),
				strstr(cases[i].script, "PIPE") != NULL);
		pop3_close(&t.p);
		script_close(&t.script);
	}
}

static void long_rows(void **state)
{
	static const struct {
		unsigned uidl;
		enum status st;
		uint32_t kept;
	} cases[] = {
		{ 71, ST_OK, 71 },
		{ 998, ST_OK, 998 },
		{ 1000, ST_OK, 1000 },
		{ 1001, ST_OK, 0 },
		{ 70000, ST_OK, 0 },
		{ 200000, ST_RETRY, 0 },
	};
	struct pop3_config cfg = joe();
	struct pop3_listing l;
	struct talk t;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(cases); i++) {
		char *text = xasprintf(HELLO LOGIN
			"C: LIST\nS: +OK\nS: 1 10\nS: .\nC: UIDL\nS: +OK\nS: 1 %0*d\n"
			"S: .\n",
			(int)cases[i].uidl, 0);

		talk_open(&t, text, 0, &cfg, NULL);
		expect("login", 0, &t.err, pop3_login(t.p, &t.err), ST_OK);
		expect_err("long", 0, &t.err, pop3_list(t.p, &l, &t.err), cases[i].st,
			EX_PROTOCOL, "over 131072 bytes");
		if (cases[i].st == ST_OK) {
			assert_int_equal(l.n, 1);
			assert_int_equal(l.items[0].uidl_n, cases[i].kept);
			assert_int_equal(
				pop3_uidl(&l, &l.items[0]) != NULL, cases[i].kept > 0);
			talk_end(&t, "long", 0);
		} else {
			script_close(&t.script);
			pop3_close(&t.p);
		}
		free(text);
	}
}

/* Listing anew is allowed, and forgets the listing before. */
static void twice(void **state)
{
	static const char script[] = HELLO LOGIN
		"C: LIST\nS: +OK\nS: 1 10\nS: .\nC: UIDL\nS: +OK\nS: 1 a\nS: .\n"
		"C: LIST\nS: +OK\nS: .\nC: UIDL\nS: +OK\nS: 2 b\nS: .\n";
	struct pop3_config cfg = joe();
	struct pop3_listing l;
	struct talk t;

	(void)state;
	talk_open(&t, script, 0, &cfg, NULL);
	expect("login", 0, &t.err, pop3_login(t.p, &t.err), ST_OK);
	expect("first", 0, &t.err, pop3_list(t.p, &l, &t.err), ST_OK);
	expect("second", 0, &t.err, pop3_list(t.p, &l, &t.err), ST_OK);
	assert_int_equal(l.n, 1);
	assert_int_equal(l.items[0].number, 2);
	pop3_want(t.p, 1, 10);
	assert_int_equal(pop3_list(t.p, &l, &t.err), ST_FATAL);
	talk_end(&t, "twice", 0);
}

/* ---- a large one ---- */

/* One answer a command, given without copying what is left of it. */
struct feed {
	struct buf answers[7];
	size_t at, off, asked;
};

static long feed_read(void *ctx, char *p, size_t n)
{
	struct feed *f = ctx;
	struct buf *b = &f->answers[f->at];

	if (f->at > f->asked)
		return -1;
	n = n < b->n - f->off ? n : b->n - f->off;
	memcpy(p, b->p + f->off, n);
	f->off += n;
	if (f->off == b->n) {
		f->at++;
		f->off = 0;
	}
	return (long)n;
}

static long feed_write(void *ctx, const char *p, size_t n)
{
	struct feed *f = ctx;
	size_t i;

	for (i = 0; i < n; i++)
		f->asked += p[i] == '\n';
	return (long)n;
}

static bool feed_wait(void *ctx, bool write, int ms)
{
	const struct feed *f = ctx;

	(void)ms;
	return write || f->at <= f->asked;
}

/* POPFERRY_TEST_ROWS=1000000 is for measuring. */
static size_t many(void)
{
	const char *s = getenv("POPFERRY_TEST_ROWS");

	return s ? strtoul(s, NULL, 10) : 20000;
}

static void large(void **state)
{
	static const char *const opening[] = { "+OK\r\n", "-ERR\r\n", "+OK\r\n",
		"+OK\r\n", "-ERR\r\n" };
	struct transport over = {
		.read = feed_read, .write = feed_write, .wait = feed_wait
	};
	struct pop3_config cfg = joe();
	struct err err = ERR_INIT;
	struct feed f = { .at = 0 };
	struct buf *list = &f.answers[5], *uidl = &f.answers[6];
	size_t i, n = many(), twins = 0;
	struct pop3_listing l;
	struct conn *c;
	struct pop3 *p;
	char want[64];

	(void)state;
	for (i = 0; i < N_ELEMENTS(f.answers); i++)
		buf_init(&f.answers[i], (size_t)1 << 30);
	for (i = 0; i < N_ELEMENTS(opening); i++)
		buf_adds(&f.answers[i], opening[i]);
	buf_adds(list, "+OK\r\n");
	buf_adds(uidl, "+OK\r\n");
	for (i = 1; i <= n; i++) {
		bool twin = i % 100 == 0; /* has the UIDL of the one before */

		twins += twin;
		buf_addf(list, "%zu %zu\r\n", i, i % 5000);
		buf_addf(uidl, "%zu %08zx5e1f1e50\r\n", i, twin ? i - 1 : i);
	}
	buf_adds(list, ".\r\n");
	buf_adds(uidl, ".\r\n");

	over.ctx = &f;
	conn_over(&c, &over, "source", NULL);
	assert_int_equal(pop3_over(&p, c, &cfg, &err), ST_OK);
	assert_int_equal(pop3_login(p, &err), ST_OK);
	assert_int_equal(pop3_list(p, &l, &err), ST_OK);
	assert_int_equal(l.n, n);
	assert_int_equal(l.repeated, 2 * twins);
	for (i = 1; i <= n; i++) {
		const struct pop3_item *it = &l.items[i - 1];
		bool twin = i % 100 == 0;
		int k = snprintf(want, sizeof(want), "%08zx5e1f1e50", twin ? i - 1 : i);

		assert_true(it->number == i && it->size == i % 5000);
		assert_int_equal(it->occurrence, twin ? 2 : 1);
		assert_int_equal(it->uidl_n, k);
		assert_memory_equal(pop3_uidl(&l, it), want, (size_t)k);
	}
	pop3_close(&p);
	for (i = 0; i < N_ELEMENTS(f.answers); i++)
		buf_free(&f.answers[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(listings),
		cmocka_unit_test(stat_first),
		cmocka_unit_test(refused),
		cmocka_unit_test(long_rows),
		cmocka_unit_test(twice),
		cmocka_unit_test(large),
	};

	return cmocka_run_group_tests_name("pop3_list", tests, NULL, NULL);
}
