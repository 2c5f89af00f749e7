/* t_pop3_retr.c: fetching: order, windows, refusals, framing, hang-ups. */
#include "t_pop3.h"

#include <popferry/clock.h>

#include <inttypes.h>

static void collect(void *ctx, const char *p, size_t n)
{
	buf_add(ctx, p, n);
}

/* A body in one line: "|" for CRLF. */
static void show_body(struct buf *told, const struct buf *body)
{
	size_t i;

	for (i = 0; i < body->n; i++)
		if (i + 1 < body->n && body->p[i] == '\r' && body->p[i + 1] == '\n') {
			buf_addc(told, '|');
			i++;
		} else {
			text_clean_add(told, body->p + i, 1);
		}
}

/* Fetches until the end or an error and tells what came: "1=body;2 skip;". */
static enum status fetch_all(struct talk *t, struct buf *told)
{
	enum status st;

	for (;;) {
		struct buf body = BUF_INIT(1 << 20);
		uint32_t number = 0;

		st = pop3_next(t->p, &number, collect, &body, &t->err);
		if (st == ST_OK) {
			buf_addf(told, "%" PRIu32 "=", number);
			show_body(told, &body);
			buf_addc(told, ';');
		} else if (st == ST_SKIP) {
			assert_true(body.n <= 10); /* of too_long(): not beyond it */
			buf_addf(told, "%" PRIu32 " skip;", number);
		}
		buf_free(&body);
		if (st != ST_OK && st != ST_SKIP)
			return st;
	}
}

struct row {
	const char *name;
	size_t wants; /* 1 .. wants, 100 bytes each */
	const char *script;
	const char *told;
	enum status st;
	int ex;
	const char *text;
};

static void run(const struct row *r, bool ahead, const struct pop3_config *cfg)
{
	char *script = xasprintf("%s%s%s", ahead ? HELLO_AHEAD : HELLO,
		ahead ? LOGIN_AHEAD : LOGIN, r->script);
	size_t step, i;
	struct talk t;

	for (step = 0; step <= steps_of(script); step++) {
		struct buf told = BUF_INIT(1 << 20);
		enum status st;

		talk_open(&t, script, step, cfg, NULL);
		expect("login", step, &t.err, pop3_login(t.p, &t.err), ST_OK);
		for (i = 1; i <= r->wants; i++)
			pop3_want(t.p, (uint32_t)i, 100);
		st = fetch_all(&t, &told);
		expect_err(r->name, step, &t.err, st, r->st, r->ex, "");
		if (strcmp(buf_str(&told), r->told) != 0)
			fail_msg("%s, step %zu: %s, not %s", r->name, step,
				buf_str(&told), r->told);
		if (!strstr(t.err.text, r->text))
			fail_msg("%s, step %zu: %s", r->name, step, t.err.text);
		if (r->ex == EX_PROTOCOL)
			assert_int_equal(pop3_pipelining_failed(t.p), ahead);
		talk_end(&t, r->name, step);
		buf_free(&told);
	}
	free(script);
}

static void lock_step(void **state)
{
	static const struct row rows[] = {
		{ "nothing wanted", 0, "", "", ST_END, 0, "" },
		{ "one", 1, "C: RETR 1\nS: +OK 5\nS: a: b\nS: \nS: c\nS: .\n",
			"1=a: b||c|;", ST_END, 0, "" },
		{ "three in step", 3,
			"C: RETR 1\nSYNC\nS: +OK\nS: one\nS: .\n"
			"C: RETR 2\nSYNC\nS: +OK\nS: two\nS: .\n"
			"C: RETR 3\nSYNC\nS: +OK\nS: .\n",
			"1=one|;2=two|;3=;", ST_END, 0, "" },
		{ "stuffed", 1,
			"C: RETR 1\nS: +OK\nS: ..\nS: ..x\nS- a\\n.\\n\\x00.\\r\\r\nS: \nS: .\n",
			"1=.|.x|a\\x0a.\\x0a\\x00.\\x0d\\x0d|;", ST_END, 0, "" },
		{ "refused", 3,
			"C: RETR 1\nS: +OK\nS: one\nS: .\nC: RETR 2\nS: -ERR expunged\n"
			"C: RETR 3\nS: +OK\nS: three\nS: .\n",
			"1=one|;2 skip;3=three|;", ST_END, 0,
			"source refused message 2 (server said: expunged)" },
		{ "+ERR", 1, "C: RETR 1\nS: +ERR no\n", "1 skip;", ST_END, 0, "no" },
		{ "lower case", 1, "C: RETR 1\nS: +ok\nS: x\nS: .\n", "1=x|;", ST_END,
			0, "" },
		{ "odd status", 2, "C: RETR 1\nS: Received: x\nS: .\n", "", ST_RETRY,
			EX_PROTOCOL, "Received: x" },
		{ "hangs up before", 1, "C: RETR 1\nEOF\n", "", ST_RETRY, EX_TEMPFAIL,
			"RETR 1" },
		{ "hangs up within", 2,
			"C: RETR 1\nS: +OK\nS: x\nS: .\nC: RETR 2\nS: +OK\nS: tw\nEOF\n",
			"1=x|;", ST_RETRY, EX_TEMPFAIL, "in message 2, after 4 bytes" },
		{ "hangs up in the end", 1, "C: RETR 1\nS: +OK\nS: x\nS- .\\r\nEOF\n",
			"", ST_RETRY, EX_TEMPFAIL, "in message 1" },
		{ "silent", 1, "C: RETR 1\nS: +OK\nS: x\n", "", ST_RETRY, EX_TEMPFAIL,
			"in message 1" },
		{ "hangs up after all", 1, "C: RETR 1\nS: +OK\nS: x\nS: .\nEOF\n",
			"1=x|;", ST_END, 0, "" },
	};
	struct pop3_config cfg = joe();
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++)
		run(&rows[i], false, &cfg);
}

/* A server whose lines end in LF alone (quirk Q26). */
static void bare_lf(void **state)
{
	static const struct row rows[] = {
		{ "all of it", 2,
			"C: RETR 1\nS- +OK\\na: b\\n\\n..x\\n.\\n\nC: RETR 2\n"
			"S- +OK\\ny\\n.\\n\n",
			"1=a: b\\x0a\\x0a.x\\x0a;2=y\\x0a;", ST_END, 0, "" },
		{ "nothing in it", 1, "C: RETR 1\nS- +OK\\n.\\n\n", "1=;", ST_END, 0,
			"" },
		{ "only the status line", 1,
			"C: RETR 1\nS- +OK\\n\nS: a\nS- x\\n.\\ny\\r\\n\nS: ..z\nS: .\n",
			"1=a|x\\x0a.\\x0ay|.z|;", ST_END, 0, "" },
		{ "CRLF behind the dot", 1,
			"C: RETR 1\nS- +OK\\na\\n.\\r\\nb\\r\\n.\\r\\n\n",
			"1=a\\x0a.|b|;", ST_END, 0, "" },
		{ "empty, and ends in CRLF", 1, "C: RETR 1\nS- +OK\\n.\\r\\n\n", "1=;",
			ST_END, 0, "" },
		{ "CR within", 1, "C: RETR 1\nS- +OK\\na\\rb\\n.\\rc\\n.\\n\n",
			"1=a\\x0db\\x0a\\x0dc\\x0a;", ST_END, 0, "" },
		{ "CRLF in the status line", 1, "C: RETR 1\nS: +OK\nS- a\\n.\\n\n", "",
			ST_RETRY, EX_TEMPFAIL, "in message 1" },
	};
	struct pop3_config cfg = joe();
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++)
		run(&rows[i], false, &cfg);
}

/* The final dot stands behind the last line's text (quirk Q25). */
static void glued(void **state)
{
	static const struct row refused = { "refused", 1,
		"C: RETR 1\nS: +OK\nS: a\nS: text.\n", "", ST_RETRY, EX_TEMPFAIL,
		"glued-dot = yes" };
	static const struct row stuffed = { "a line with a dot is none", 1,
		"C: RETR 1\nS: +OK\nS: a\nS: ..\n", "", ST_RETRY, EX_TEMPFAIL,
		"source was silent" };
	static const struct row taken[] = {
		{ "taken", 2,
			"C: RETR 1\nSYNC\nS: +OK\nS: a\nS: text.\n"
			"C: RETR 2\nS: +OK\nS: b.\nS: .\n",
			"1=a|text|;2=b.|;", ST_END, 0, "" },
		{ "short", 1, "C: RETR 1\nS: +OK\nS: x.\n", "1=x|;", ST_END, 0, "" },
		{ "two dots", 1, "C: RETR 1\nS: +OK\nS: x..\n", "1=x.|;", ST_END, 0,
			"" },
		{ "other silence", 1, "C: RETR 1\nS: +OK\nS: x\n", "", ST_RETRY,
			EX_TEMPFAIL, "in message 1, after 3 bytes" },
		{ "a line with a dot", 1, "C: RETR 1\nS: +OK\nS: ..\nS: y\nS: .\n",
			"1=.|y|;", ST_END, 0, "" },
	};
	struct pop3_config cfg = joe();
	size_t i;

	(void)state;
	run(&refused, false, &cfg);
	run(&stuffed, false, &cfg);
	cfg.glued_dot = true;
	cfg.idle_ms = 4;
	for (i = 0; i < N_ELEMENTS(taken); i++)
		run(&taken[i], false, &cfg);
}

#define RETR3 "C: RETR 1\nC: RETR 2\nC: RETR 3\nSYNC\n"

static void ahead(void **state)
{
	static const struct row rows[] = {
		{ "three at once", 3,
			RETR3 "S: +OK\nS: one\nS: .\nS: +OK\nS: two\nS: .\n"
			      "S: +OK\nS: three\nS: .\n",
			"1=one|;2=two|;3=three|;", ST_END, 0, "" },
		{ "refused in the middle", 3,
			RETR3
			"S: +OK\nS: one\nS: .\nS: -ERR gone\nS: +OK\nS: three\nS: .\n",
			"1=one|;2 skip;3=three|;", ST_END, 0, "gone" },
		{ "all refused", 3, RETR3 "S: -ERR a\nS: -ERR b\nS: -ERR c\n",
			"1 skip;2 skip;3 skip;", ST_END, 0, "c" },
		{ "odd status", 3, RETR3 "S: -ERR x\nS: +MAYBE\n", "1 skip;", ST_RETRY,
			EX_PROTOCOL, "+MAYBE" },
		{ "hangs up within", 3,
			RETR3 "S: +OK\nS: one\nS: .\nS: +OK\nS: tw\nEOF\n", "1=one|;",
			ST_RETRY, EX_TEMPFAIL, "message 2, after 4 bytes" },
		{ "hangs up between", 3, RETR3 "S: +OK\nS: one\nS: .\nEOF\n", "1=one|;",
			ST_RETRY, EX_TEMPFAIL, "RETR 2" },
	};
	struct pop3_config cfg = joe();
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++)
		run(&rows[i], true, &cfg);
}

/* What looks like a reply may be a part of the message before (quirks Q28, Q74). */
static void short_ahead(void **state)
{
	/* 100 bytes are listed of each. */
	static const char ten[] = "012345678 012345678 012345678 012345678 012345678 "
				  "012345678 012345678 012345678 012345678 01234567";
	char script[1000];
	struct pop3_config cfg = joe();
	struct row row = { "short", 3, script, "1=", ST_RETRY, EX_PROTOCOL,
		"message 2 after 3 bytes" };
	char told[200];
	struct talk t;
	size_t k, turn;

	(void)state;
	snprintf(told, sizeof(told), "1=%s|;", ten);
	snprintf(script, sizeof(script),
		"%s%s" RETR3 "S: +OK\nS: %s\nS: .\nS: +OK\nS: y\nS: .\n"
		"S: +OK\nS: forged\nS: .\n",
		HELLO_AHEAD, LOGIN_AHEAD, ten);
	for (turn = 0; turn < 2; turn++) {
		struct buf got = BUF_INIT(1 << 20);

		cfg.any_size = turn == 1;
		talk_open(&t, script, 0, &cfg, NULL);
		expect("login", 0, &t.err, pop3_login(t.p, &t.err), ST_OK);
		for (k = 1; k <= 3; k++)
			pop3_want(t.p, (uint32_t)k, 100);
		if (turn == 0) {
			expect_err(row.name, 0, &t.err, fetch_all(&t, &got), ST_RETRY,
				EX_PROTOCOL, row.text);
			assert_int_equal(pop3_oddity(t.p), POP3_ODD_UNSTUFFED);
			assert_string_equal(buf_str(&got), told);
			/* Asking ahead is not to blame, and stays. */
			assert_false(pop3_pipelining_failed(t.p));
		} else {
			expect("any size", 0, &t.err, fetch_all(&t, &got), ST_END);
		}
		talk_end(&t, "short", 0);
		buf_free(&got);
	}
	row = (struct row){ "a reply too much", 3,
		RETR3 "S: +OK\nS: one\nS: .\nS: +OK\nS: +OK\nS: two\nS: .\n", "1=one|;",
		ST_RETRY, EX_PROTOCOL, "begins message 2 like a reply" };
	run(&row, true, &cfg);
}

/* What is on the wire comes, and then QUIT is possible. */
static void wind_down(void **state)
{
	static const char script[] = HELLO LOGIN
		"C: RETR 1\nS: +OK\nS: one\nS: .\nC: QUIT\nS: +OK\n";
	struct pop3_config cfg = joe();
	struct buf told = BUF_INIT(1 << 20);
	uint32_t number;
	struct talk t;

	(void)state;
	talk_open(&t, script, 0, &cfg, NULL);
	expect("login", 0, &t.err, pop3_login(t.p, &t.err), ST_OK);
	pop3_want(t.p, 1, 5);
	pop3_want(t.p, 2, 5);
	expect("one", 0, &t.err, pop3_next(t.p, &number, collect, &told, &t.err),
		ST_OK);
	pop3_wind_down(t.p);
	expect("end", 0, &t.err, pop3_next(t.p, &number, collect, &told, &t.err),
		ST_END);
	expect("quit", 0, &t.err, pop3_quit(t.p, &t.err), ST_OK);
	talk_end(&t, "wind down", 0);
	buf_free(&told);
}

struct watch {
	struct pop3 *p;
	uint64_t before;
	struct buf *told;
	bool seen;
};

/* Tells how many RETRs of 8 bytes had gone out when a message began to come. */
static void watch(void *ctx, const char *p, size_t n)
{
	struct watch *w = ctx;

	(void)p;
	(void)n;
	if (!w->seen)
		buf_addf(w->told, "%" PRIu64 " ",
			(pop3_counts(w->p).out - w->before) / 8);
	w->seen = true;
}

static void run_window(const char *rest, uint32_t wants, const struct pop3_config *cfg,
	const char *want)
{
	char *script = xasprintf("%s%s", HELLO_AHEAD LOGIN_AHEAD, rest);
	size_t step;

	for (step = 0; step <= steps_of(script); step++) {
		struct buf told = BUF_INIT(1 << 20);
		struct watch w = { .told = &told };
		uint32_t i, number;
		struct talk t;
		enum status st;

		talk_open(&t, script, step, cfg, NULL);
		expect("login", step, &t.err, pop3_login(t.p, &t.err), ST_OK);
		w.p = t.p;
		w.before = pop3_counts(t.p).out;
		for (i = 1; i <= wants; i++)
			pop3_want(t.p, i, 100);
		do {
			w.seen = false;
			st = pop3_next(t.p, &number, watch, &w, &t.err);
		} while (st == ST_OK || st == ST_SKIP);
		expect("window", step, &t.err, st, ST_END);
		assert_string_equal(buf_str(&told), want);
		talk_end(&t, "window", step);
		buf_free(&told);
	}
	free(script);
}

#define ONE "S: +OK\nS: x\nS: .\n"

/* Half of four is two: with no more than two due, more are asked for. */
static void window_of_four(void **state)
{
	struct pop3_config cfg = joe();

	(void)state;
	cfg.window_count = 4;
	run_window("C: RETR 1\nC: RETR 2\nC: RETR 3\nC: RETR 4\n" ONE ONE
		   "C: RETR 5\nC: RETR 6\nS: -ERR\n" ONE "C: RETR 7\n" ONE ONE ONE,
		7, &cfg, "4 4 6 7 7 7 ");
}

/*
 * 100 bytes are expected of each: two fit into 150, the last over its edge.
 * When half of the second has come, the third is asked for.
 */
static void window_of_bytes(void **state)
{
	struct pop3_config cfg = joe();

	(void)state;
	cfg.window_bytes = 150;
	run_window("C: RETR 1\nC: RETR 2\n" ONE
		   "S: +OK\nS- 012345678901234567890123456789\n"
		   "C: RETR 3\nS: \nS: .\n" ONE "C: RETR 4\n" ONE,
		4, &cfg, "2 2 3 4 ");
}

/* ---- what must not be there ---- */

/*
 * Bytes behind the end that nobody asked for. What was seen of them decides
 * whether the message counts; but a session never goes on.
 */
static void unasked(void **state)
{
	static const struct {
		const char *name, *script;
		bool ahead;
		size_t wants;
	} rows[] = {
		{ "second dot", "C: RETR 1\nS: +OK\nS: x\nS: .\nS: .\n", false, 1 },
		{ "not stuffed", "C: RETR 1\nS: +OK\nS: x\nS: .\nS: y\nS: .\n", false,
			2 },
		{ "extra reply", "C: RETR 1\nS: +OK\nS: x\nS: .\nS: +OK\n", false, 1 },
		{ "not stuffed, ahead",
			RETR3
			"S: +OK\nS: x\nS: .\nS: y\nS: .\nS: +OK\nS: .\nS: +OK\nS: .\n",
			true, 3 },
	};
	struct pop3_config cfg = joe();
	size_t i, k, step;
	struct talk t;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		char *script = xasprintf("%s%s%s", rows[i].ahead ? HELLO_AHEAD : HELLO,
			rows[i].ahead ? LOGIN_AHEAD : LOGIN, rows[i].script);

		for (step = 0; step <= steps_of(script); step++) {
			struct buf told = BUF_INIT(1 << 20);

			talk_open(&t, script, step, &cfg, NULL);
			expect("login", step, &t.err, pop3_login(t.p, &t.err), ST_OK);
			for (k = 1; k <= rows[i].wants; k++)
				pop3_want(t.p, (uint32_t)k, 100);
			expect_err(rows[i].name, step, &t.err, fetch_all(&t, &told),
				ST_RETRY, EX_PROTOCOL, "");
			/* All seen at once: the message does not count either. */
			if (step == 0)
				assert_string_equal(buf_str(&told), "");
			else if (step == 1)
				assert_string_equal(buf_str(&told), "1=x|;");
			talk_end(&t, rows[i].name, step);
			buf_free(&told);
		}
		free(script);
	}
}

static void too_long(void **state)
{
	static const struct row row = { "too long", 3,
		RETR3 "S: +OK\nS: 12345678\nS: .\nS: +OK\nS: 123456789\nS: .\n"
		      "S: +OK\nS: x\nS: .\n",
		"1=12345678|;2 skip;3=x|;", ST_END, 0,
		"message 2 of 11 B is over the limit of 10 bytes" };
	struct pop3_config cfg = joe();

	(void)state;
	cfg.message_max = 10;
	run(&row, true, &cfg);
}

/* ---- a server that reads no more while it cannot send ---- */

enum { PIPE = 2048, BODY = 700 };

/* Both directions hold PIPE bytes, as the buffers of two kernels would. */
struct narrow {
	struct buf in, out;
	size_t served, commands;
};

static bool serve_one(struct narrow *s)
{
	const char *lf = s->in.n ? memchr(s->in.p, '\n', s->in.n) : NULL;
	unsigned long number;
	char body[BODY + 1];

	if (!lf || s->out.n + BODY + 64 > PIPE)
		return false;
	if (s->in.n >= 4 && memcmp(s->in.p, "CAPA", 4) == 0) {
		buf_adds(&s->out, "+OK\r\nPIPELINING\r\n.\r\n");
	} else if (s->in.n >= 4 && memcmp(s->in.p, "RETR", 4) == 0) {
		number = strtoul(s->in.p + 4, NULL, 10);
		memset(body, 'a' + (int)(number % 26), BODY);
		body[BODY] = '\0';
		buf_addf(&s->out, "+OK\r\n%s\r\n.\r\n", body);
		s->served++;
	} else {
		buf_adds(&s->out, "+OK\r\n");
	}
	buf_drop(&s->in, (size_t)(lf - s->in.p) + 1);
	return true;
}

static long narrow_read(void *ctx, char *p, size_t n)
{
	struct narrow *s = ctx;

	while (serve_one(s))
		;
	n = n < s->out.n ? n : s->out.n;
	if (!n)
		return -1;
	memcpy(p, s->out.p, n);
	buf_drop(&s->out, n);
	return (long)n;
}

static long narrow_write(void *ctx, const char *p, size_t n)
{
	struct narrow *s = ctx;

	while (serve_one(s))
		;
	n = n < PIPE - s->in.n ? n : PIPE - s->in.n;
	buf_add(&s->in, p, n);
	s->commands++;
	return n ? (long)n : -1;
}

static bool narrow_wait(void *ctx, bool write, int ms)
{
	struct narrow *s = ctx;

	(void)ms;
	while (serve_one(s))
		;
	return s->out.n || (write && s->in.n < PIPE);
}

static void count_bytes(void *ctx, const char *p, size_t n)
{
	(void)p;
	*(uint64_t *)ctx += n;
}

static void deep_window(void **state)
{
	enum { MESSAGES = 20000 };
	struct narrow s = { BUF_INIT(1 << 20), BUF_INIT(1 << 20), 0, 0 };
	struct transport over = { &s, narrow_read, narrow_write, narrow_wait, NULL };
	struct pop3_config cfg = joe();
	struct err err = ERR_INIT;
	uint64_t got;
	uint32_t i, number;
	struct conn *c;
	struct pop3 *p;

	(void)state;
	cfg.window_count = 1000000;
	cfg.window_bytes = UINT64_MAX;
	buf_adds(&s.out, "+OK hello\r\n");
	conn_over(&c, &over, "source", NULL);
	assert_int_equal(pop3_over(&p, c, &cfg, &err), ST_OK);
	assert_int_equal(pop3_login(p, &err), ST_OK);
	for (i = 1; i <= MESSAGES; i++)
		pop3_want(p, i, UINT64_MAX);
	for (i = 1; i <= MESSAGES; i++) {
		got = 0;
		if (pop3_next(p, &number, count_bytes, &got, &err) != ST_OK)
			fail_msg("message %" PRIu32 ": %s", i, err.text);
		assert_int_equal(number, i);
		assert_int_equal(got, BODY + 2);
	}
	assert_int_equal(pop3_next(p, &number, count_bytes, &got, &err), ST_END);
	assert_int_equal(s.served, MESSAGES);
	assert_int_equal(pop3_quit(p, &err), ST_OK);
	pop3_close(&p);
	buf_free(&s.in);
	buf_free(&s.out);
}

/* ---- silence ---- */

static struct transport scripted;

static bool slow_wait(void *ctx, bool write, int ms)
{
	if (scripted.wait(ctx, write, ms))
		return true;
	clock_sleep(ms);
	return false;
}

/* Many RETRs, one reply, then nothing: quirk Q60. */
static void one_reply_only(void **state)
{
	static const char script[] = HELLO_AHEAD LOGIN_AHEAD RETR3
		"S: +OK\nS: x\nS: .\n";
	struct pop3_config cfg = joe();
	struct buf told = BUF_INIT(1 << 20);
	struct transport over;
	struct talk t = { .st = ST_OK };
	struct conn *c;
	uint32_t i;

	(void)state;
	cfg.reply_ms = 20;
	script_open(&t.script, script, 0);
	over = scripted = script_transport(t.script);
	over.wait = slow_wait;
	conn_over(&c, &over, "source", NULL);
	assert_int_equal(pop3_over(&t.p, c, &cfg, &t.err), ST_OK);
	assert_int_equal(pop3_login(t.p, &t.err), ST_OK);
	for (i = 1; i <= 3; i++)
		pop3_want(t.p, i, 100);
	assert_int_equal(fetch_all(&t, &told), ST_RETRY);
	assert_int_equal(t.err.exit, EX_TEMPFAIL);
	assert_string_equal(buf_str(&told), "1=x|;");
	assert_true(pop3_pipelining_failed(t.p));
	talk_end(&t, "one reply", 0);
	buf_free(&told);
}

/* Wanting more while others are under way keeps the order. */
static void want_again(void **state)
{
	static const char script[] = HELLO_AHEAD LOGIN_AHEAD
		"C: RETR 9\nC: RETR 4\nSYNC\nS: +OK\nS: nine\nS: .\n"
		"C: RETR 6\nSYNC\nS: +OK\nS: four\nS: .\nS: +OK\nS: six\nS: .\n"
		"C: RETR 1\nS: +OK\nS: one\nS: .\nC: QUIT\nS: +OK\n";
	struct pop3_config cfg = joe();
	struct buf told = BUF_INIT(1 << 20), body = BUF_INIT(1 << 20);
	uint32_t number;
	struct talk t;

	(void)state;
	talk_open(&t, script, 0, &cfg, NULL);
	expect("login", 0, &t.err, pop3_login(t.p, &t.err), ST_OK);
	pop3_want(t.p, 9, 100);
	pop3_want(t.p, 4, UINT64_MAX);
	expect("next", 0, &t.err, pop3_next(t.p, &number, collect, &body, &t.err),
		ST_OK);
	assert_int_equal(number, 9);
	pop3_want(t.p, 6, 0);
	assert_int_equal(fetch_all(&t, &told), ST_END);
	pop3_want(t.p, 1, 0);
	assert_int_equal(fetch_all(&t, &told), ST_END);
	assert_string_equal(buf_str(&told), "4=four|;6=six|;1=one|;");
	expect("quit", 0, &t.err, pop3_quit(t.p, &t.err), ST_OK);
	talk_end(&t, "want again", 0);
	buf_free(&told);
	buf_free(&body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lock_step),
		cmocka_unit_test(bare_lf),
		cmocka_unit_test(glued),
		cmocka_unit_test(ahead),
		cmocka_unit_test(short_ahead),
		cmocka_unit_test(wind_down),
		cmocka_unit_test(window_of_four),
		cmocka_unit_test(window_of_bytes),
		cmocka_unit_test(unasked),
		cmocka_unit_test(too_long),
		cmocka_unit_test(deep_window),
		cmocka_unit_test(one_reply_only),
		cmocka_unit_test(want_again),
	};

	return cmocka_run_group_tests_name("pop3_retr", tests, NULL, NULL);
}
