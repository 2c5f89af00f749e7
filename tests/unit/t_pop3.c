/* t_pop3.c: sessions: greeting, capabilities, STLS, deleting, QUIT. */
#include "t_pop3.h"

#include <inttypes.h>

/* ---- greetings ---- */

static void greetings(void **state)
{
	static const struct {
		const char *name, *script;
		enum status st;
		int ex;
		const char *text;
	} rows[] = {
		{ "plain", HELLO, ST_OK, 0, "" },
		{ "lower case", "S: +ok hello\nC: CAPA\nS: -err no\n", ST_OK, 0, "" },
		{ "no words", "S: +OK\nC: CAPA\nS: -ERR\n", ST_OK, 0, "" },
		{ "bare LF", "S- +OK hi\\n\nC: CAPA\nS: -ERR\n", ST_OK, 0, "" },
		{ "busy", "S: -ERR too many connections\n", ST_RETRY, EX_TEMPFAIL,
			"too many connections" },
		{ "busy, with a code", "S: -ERR [SYS/TEMP] later\n", ST_RETRY,
			EX_TEMPFAIL, "later" },
		{ "broken for good", "S: -ERR [SYS/PERM] gone\n", ST_DENIED,
			EX_UNAVAILABLE, "operator" },
		{ "IMAP", "S: * OK IMAP4rev1 ready\n", ST_DENIED, EX_PROTOCOL,
			"source answers as an IMAP server; use the POP3 port (995 or 110)" },
		{ "SMTP", "S: 220 mx ESMTP\n", ST_DENIED, EX_PROTOCOL, "an SMTP" },
		{ "other", "S: \\x1b[2Jhello\n", ST_DENIED, EX_PROTOCOL,
			"\\x1b[2Jhello" },
		{ "empty line", "S: \n", ST_DENIED, EX_PROTOCOL, "greet as a POP3" },
		{ "silence", "", ST_RETRY, EX_TEMPFAIL, "waiting for the greeting" },
		{ "hangs up", "EOF\n", ST_RETRY, EX_TEMPFAIL,
			"waiting for the greeting" },
		{ "hangs up within", "S- +OK he\nEOF\n", ST_RETRY, EX_TEMPFAIL, "" },
		{ "junk behind it", "S: +OK hello\nS: more\n", ST_RETRY, EX_PROTOCOL,
			"" },
		{ "parentheses", "S: +OK (((((()\nC: CAPA\nS: -ERR\n", ST_OK, 0, "" },
	};
	struct pop3_config cfg = joe();
	struct talk t;
	size_t i, step;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		/* With "+OK hello" and one byte at a time, CAPA goes out before the
		 * junk can be seen: then the junk is its reply. */
		for (step = 0; step <= steps_of(rows[i].script); step++) {
			talk_open(&t, rows[i].script, step, &cfg, NULL);
			expect_err(rows[i].name, step, &t.err, t.st, rows[i].st,
				rows[i].ex, rows[i].text);
			if (rows[i].st == ST_OK || rows[i].ex != EX_PROTOCOL)
				talk_end(&t, rows[i].name, step);
			else
				script_close(&t.script);
		}
	}
}

static void long_greeting(void **state)
{
	struct pop3_config cfg = joe();
	struct talk t;
	char *text;

	(void)state;
	text = xasprintf("S: +OK %09000d\nC: CAPA\n", 0);
	talk_open(&t, text, 0, &cfg, NULL);
	expect_err("9 KiB", 0, &t.err, t.st, ST_RETRY, EX_PROTOCOL, "over 8192 bytes");
	script_close(&t.script);
	free(text);
}

/* ---- capabilities ---- */

static void capa(void **state)
{
	static const char script[] =
		"S: +OK x <1.2@example.org> y\nC: CAPA\n"
		"S: +OK here\nS: TOP\nS: sasl CRAM-MD5 plain\nS: UIDL\n"
		"S: user\nS: PIPELINING\\t\nS: X-\\x1b\nS: .\n";
	const struct pop3_server *s;
	struct pop3_config cfg = joe();
	struct talk t;
	size_t step;

	(void)state;
	for (step = 0; step <= steps_of(script); step++) {
		talk_open(&t, script, step, &cfg, NULL);
		expect("capa", step, &t.err, t.st, ST_OK);
		s = pop3_server(t.p);
		assert_string_equal(s->greeting, "x <1.2@example.org> y");
		assert_string_equal(s->peer, "source");
		assert_true(s->has_capa && s->sasl_plain && s->uidl && s->user);
		assert_true(s->pipelining && s->apop);
		assert_false(s->stls);
		assert_null(s->tls);
		assert_int_equal(s->n_capa, 6);
		assert_string_equal(s->capa[1], "sasl CRAM-MD5 plain");
		assert_string_equal(s->capa[5], "X-\\x1b");
		talk_end(&t, "capa", step);
	}
}

/* What CAPA says of pauses and of mail that goes by itself (quirks Q43, Q50). */
static void capa_habits(void **state)
{
	static const struct {
		const char *lines;
		unsigned delay;
		const char *expire;
	} rows[] = {
		{ "S: TOP\n", 0, NULL },
		{ "S: LOGIN-DELAY 900\nS: EXPIRE 0\n", 900, "0" },
		{ "S: login-delay 60 USER\nS: EXPIRE NEVER\n", 60, "NEVER" },
		{ "S: LOGIN-DELAY -1\nS: EXPIRE 30 USER\n", 0, "30 USER" },
		{ "S: LOGIN-DELAY 99999999999999999999\n", 0, NULL },
		{ "S: LOGIN-DELAY\nS: EXPIRE\n", 0, NULL },
	};
	struct pop3_config cfg = joe();
	struct talk t;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		char *text = xasprintf(
			"S: +OK hello\nC: CAPA\nS: +OK\n%sS: .\n", rows[i].lines);

		talk_open(&t, text, 0, &cfg, NULL);
		expect(rows[i].lines, 0, &t.err, t.st, ST_OK);
		assert_int_equal(pop3_server(t.p)->login_delay, rows[i].delay);
		if (rows[i].expire)
			assert_string_equal(pop3_server(t.p)->expire, rows[i].expire);
		else
			assert_null(pop3_server(t.p)->expire);
		talk_end(&t, rows[i].lines, 0);
		free(text);
	}
}

static void capa_not_asked(void **state)
{
	struct pop3_config cfg = joe();
	struct talk t;

	(void)state;
	cfg.no_capa = true;
	talk_open(&t, "S: +OK\nC: USER joe\nS: +OK\nC: PASS secret\nS: +OK\n", 0, &cfg,
		NULL);
	expect("login", 0, &t.err, pop3_login(t.p, &t.err), ST_OK);
	assert_false(pop3_capa_failed(t.p));
	talk_end(&t, "not asked", 0);
	cfg.no_capa = false;
	talk_open(&t,
		HELLO "C: USER joe\nS: +OK\nC: PASS secret\nS: +OK\nC: CAPA\nEOF\n", 0,
		&cfg, NULL);
	expect("lost", 0, &t.err, pop3_login(t.p, &t.err), ST_RETRY);
	assert_true(pop3_capa_failed(t.p));
	talk_end(&t, "lost", 0);
}

static void capa_none(void **state)
{
	struct pop3_config cfg = joe();
	struct talk t;

	(void)state;
	talk_open(&t, HELLO, 0, &cfg, NULL);
	expect("none", 0, &t.err, t.st, ST_OK);
	assert_false(pop3_server(t.p)->has_capa);
	assert_false(pop3_server(t.p)->apop);
	assert_int_equal(pop3_server(t.p)->n_capa, 0);
	talk_end(&t, "none", 0);
}

static void capa_sick(void **state)
{
	static const struct {
		const char *name, *reply;
		size_t lines;
		enum status st;
		int ex;
	} rows[] = {
		{ "200 lines", "S: +OK\n", 200, ST_OK, 0 },
		{ "201 lines", "S: +OK\n", 201, ST_RETRY, EX_PROTOCOL },
		{ "no status", "S: TOP\n", 0, ST_RETRY, EX_PROTOCOL },
		{ "other plus", "S: +MAYBE\n", 0, ST_RETRY, EX_PROTOCOL },
		{ "hangs up", "S: +OK\nEOF\n", 0, ST_RETRY, EX_TEMPFAIL },
		{ "silent", "SYNC\n", 0, ST_RETRY, EX_TEMPFAIL },
	};
	struct pop3_config cfg = joe();
	struct talk t;
	size_t i, k;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		struct buf b = BUF_INIT(1 << 20);

		buf_addf(&b, "S: +OK hello\nC: CAPA\n%s", rows[i].reply);
		for (k = 0; k < rows[i].lines; k++)
			buf_addf(&b, "S: X%zu\n", k);
		if (rows[i].lines)
			buf_adds(&b, "S: .\n");
		talk_open(&t, buf_str(&b), 0, &cfg, NULL);
		expect_err(rows[i].name, 0, &t.err, t.st, rows[i].st, rows[i].ex, "");
		pop3_close(&t.p);
		script_close(&t.script);
		buf_free(&b);
	}
}

static void long_status(void **state)
{
	struct pop3_config cfg = joe();
	struct talk t;
	char *text;

	(void)state;
	text = xasprintf("S: +OK hello\nC: CAPA\nS: +OK %09000d\n", 0);
	talk_open(&t, text, 0, &cfg, NULL);
	expect_err("9 KiB", 0, &t.err, t.st, ST_RETRY, EX_PROTOCOL, "over 8192 bytes");
	script_close(&t.script);
	free(text);
}

/* ---- STLS ---- */

static void stls(void **state)
{
	static const struct {
		const char *name, *script;
		enum status st;
		int ex;
		const char *text;
	} rows[] = {
		{ "absent", HELLO_AHEAD, ST_DENIED, EX_UNAVAILABLE,
			"does not offer TLS" },
		{ "refused",
			"S: +OK\nC: CAPA\nS: +OK\nS: STLS\nS: .\nC: STLS\nS: -ERR no\n",
			ST_DENIED, EX_UNAVAILABLE, "refuses TLS" },
		{ "no CAPA, refused", HELLO "C: STLS\nS: -ERR no\n", ST_DENIED,
			EX_UNAVAILABLE, "refuses TLS" },
		{ "hangs up", HELLO "C: STLS\nEOF\n", ST_RETRY, EX_TEMPFAIL, "STLS" },
		/* A script cannot shake hands; but it got so far. */
		{ "agreed", HELLO "C: STLS\nS: +OK go\n", ST_FATAL, EX_SOFTWARE,
			"TLS" },
	};
	struct pop3_config cfg = joe();
	struct talk t;
	size_t i, step;

	(void)state;
	cfg.net.tls = TLS_STARTTLS;
	for (i = 0; i < N_ELEMENTS(rows); i++)
		for (step = 0; step <= steps_of(rows[i].script); step++) {
			talk_open(&t, rows[i].script, step, &cfg, NULL);
			expect_err(rows[i].name, step, &t.err, t.st, rows[i].st,
				rows[i].ex, rows[i].text);
			talk_end(&t, rows[i].name, step);
		}
}

/* ---- DELE and QUIT ---- */

static void no_take(void *ctx, const char *p, size_t n)
{
	(void)ctx;
	(void)p;
	(void)n;
}

static void dele(void **state)
{
	static const struct {
		const char *name, *reply;
		enum status st;
		int ex;
	} rows[] = {
		{ "marked", "S: +OK\n", ST_OK, 0 },
		{ "refused", "S: -ERR no such message\n", ST_SKIP, EX_PARTIAL },
		{ "odd", "S: maybe\n", ST_RETRY, EX_PROTOCOL },
		{ "hangs up", "EOF\n", ST_RETRY, EX_TEMPFAIL },
	};
	struct pop3_config cfg = joe();
	struct talk t;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		char *text = xasprintf(HELLO LOGIN "C: DELE 7\n%s", rows[i].reply);

		talk_open(&t, text, 1, &cfg, NULL);
		expect("login", 1, &t.err, pop3_login(t.p, &t.err), ST_OK);
		expect_err(rows[i].name, 1, &t.err, pop3_dele(t.p, 7, &t.err),
			rows[i].st, rows[i].ex, "");
		talk_end(&t, rows[i].name, 1); /* and no QUIT: nothing is deleted */
		free(text);
	}
}

static void dele_while_wanting(void **state)
{
	struct pop3_config cfg = joe();
	struct talk t;

	(void)state;
	talk_open(&t, HELLO LOGIN, 0, &cfg, NULL);
	expect("login", 0, &t.err, pop3_login(t.p, &t.err), ST_OK);
	pop3_want(t.p, 1, 10);
	assert_int_equal(pop3_dele(t.p, 1, &t.err), ST_FATAL);
	talk_end(&t, "wanting", 0);
}

static void quit(void **state)
{
	static const struct {
		const char *name, *reply;
		enum status st;
		int ex;
		const char *text;
	} rows[] = {
		{ "bye", "S: +OK bye\n", ST_OK, 0, "" },
		{ "refused", "S: -ERR some deleted messages not removed\n", ST_RETRY,
			EX_TEMPFAIL, "not removed" },
		{ "odd", "S: bye\n", ST_RETRY, EX_PROTOCOL, "QUIT" },
		{ "hangs up", "EOF\n", ST_RETRY, EX_TEMPFAIL, "QUIT" },
		{ "silent", "", ST_RETRY, EX_TEMPFAIL, "QUIT" },
	};
	struct pop3_config cfg = joe();
	struct talk t;
	size_t i, step;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		char *text = xasprintf(
			HELLO LOGIN "C: DELE 7\nS: +OK\nC: QUIT\n%s", rows[i].reply);

		for (step = 0; step <= steps_of(text); step++) {
			talk_open(&t, text, step, &cfg, NULL);
			expect("login", 1, &t.err, pop3_login(t.p, &t.err), ST_OK);
			expect("dele", 1, &t.err, pop3_dele(t.p, 7, &t.err), ST_OK);
			expect_err(rows[i].name, step, &t.err, pop3_quit(t.p, &t.err),
				rows[i].st, rows[i].ex, rows[i].text);
			talk_end(&t, rows[i].name, step);
		}
		free(text);
	}
}

/* RSET leaves mail unseen, where it is known to help (quirks Q42, Q43, Q47). */
static void reset(void **state)
{
	static const struct {
		const char *name, *greeting, *end;
		enum pop3_rset rset;
		bool dele, fetch;
	} rows[] = {
		{ "elsewhere", "hello", "C: QUIT\nS: +OK\n", POP3_RSET_AUTO, false,
			true },
		{ "Dovecot", "Dovecot (Debian) ready.",
			"C: LAST\nSYNC\nS: -ERR\nC: RSET\nSYNC\nS: +OK\nC: QUIT\nSYNC\nS: +OK\n",
			POP3_RSET_AUTO, false, true },
		{ "Dovecot with LAST", "Dovecot ready.",
			"C: LAST\nS: +OK 1\nC: QUIT\nS: +OK\n", POP3_RSET_AUTO, false,
			true },
		{ "nothing fetched", "Dovecot ready.", "C: QUIT\nS: +OK\n",
			POP3_RSET_AUTO, false, false },
		{ "something is to go", "Dovecot ready.",
			"C: DELE 1\nS: +OK\nC: QUIT\nS: +OK\n", POP3_RSET_YES, true,
			true },
		{ "no", "Dovecot ready.", "C: QUIT\nS: +OK\n", POP3_RSET_NO, false,
			true },
		{ "yes", "MercuryP ready", "C: RSET\nS: -ERR\nC: QUIT\nS: +OK\n",
			POP3_RSET_YES, false, true },
	};
	struct pop3_config cfg = joe();
	struct talk t;
	uint32_t number;
	size_t i, step;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		char *text = xasprintf("S: +OK %s\nC: CAPA\nS: -ERR\n" LOGIN "%s%s",
			rows[i].greeting,
			rows[i].fetch ? "C: RETR 1\nS: +OK\nS: x\nS: .\n" : "",
			rows[i].end);

		cfg.rset = rows[i].rset;
		for (step = 0; step <= steps_of(text); step++) {
			talk_open(&t, text, step, &cfg, NULL);
			expect("login", step, &t.err, pop3_login(t.p, &t.err), ST_OK);
			if (rows[i].fetch) {
				pop3_want(t.p, 1, 3);
				expect("next", step, &t.err,
					pop3_next(t.p, &number, no_take, NULL, &t.err),
					ST_OK);
			}
			if (rows[i].dele)
				expect("dele", step, &t.err, pop3_dele(t.p, 1, &t.err),
					ST_OK);
			expect(rows[i].name, step, &t.err, pop3_quit(t.p, &t.err),
				ST_OK);
			talk_end(&t, rows[i].name, step);
		}
		free(text);
	}
}

static void quit_while_wanting(void **state)
{
	static const struct {
		const char *name, *script;
		bool marked;
		enum status st;
	} rows[] = {
		{ "nothing marked", HELLO LOGIN "C: RETR 1\nS: +OK\nS: .\nC: RETR 2\n",
			false, ST_OK },
		{ "marked",
			HELLO LOGIN
			"C: DELE 7\nS: +OK\nC: RETR 1\nS: +OK\nS: .\nC: RETR 2\n",
			true, ST_RETRY },
	};
	struct pop3_config cfg = joe();
	struct talk t;
	uint32_t number;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		talk_open(&t, rows[i].script, 0, &cfg, NULL);
		expect("login", 0, &t.err, pop3_login(t.p, &t.err), ST_OK);
		if (rows[i].marked)
			expect("dele", 0, &t.err, pop3_dele(t.p, 7, &t.err), ST_OK);
		pop3_want(t.p, 1, 10);
		pop3_want(t.p, 2, 10);
		expect("next", 0, &t.err,
			pop3_next(t.p, &number, no_take, NULL, &t.err), ST_OK);
		expect("no reply", 0, &t.err,
			pop3_next(t.p, &number, no_take, NULL, &t.err), ST_RETRY);
		expect_err(rows[i].name, 0, &t.err, pop3_quit(t.p, &t.err), rows[i].st,
			EX_TEMPFAIL, "");
		talk_end(&t, rows[i].name, 0);
	}
}

static void unasked(void **state)
{
	static const char script[] = HELLO LOGIN "C: DELE 7\nS: +OK\nS: +OK again\n";
	struct pop3_config cfg = joe();
	struct talk t;

	(void)state;
	talk_open(&t, script, 0, &cfg, NULL);
	expect("login", 0, &t.err, pop3_login(t.p, &t.err), ST_OK);
	expect("dele", 0, &t.err, pop3_dele(t.p, 7, &t.err), ST_OK);
	expect_err("unasked", 0, &t.err, pop3_quit(t.p, &t.err), ST_RETRY, EX_PROTOCOL,
		"+OK again");
	talk_end(&t, "unasked", 0);
}

static void cancelled(void **state)
{
	struct pop3_config cfg = joe();
	struct talk t;

	(void)state;
	talk_open(&t, HELLO "C: USER joe\n", 0, &cfg, NULL);
	pop3_cancel(t.p);
	expect_err("cancelled", 0, &t.err, pop3_login(t.p, &t.err), ST_RETRY,
		EX_TEMPFAIL, "");
	talk_end(&t, "cancelled", 0);
}

static void counts(void **state)
{
	struct pop3_config cfg = joe();
	struct talk t;

	(void)state;
	talk_open(&t, HELLO, 0, &cfg, NULL);
	assert_int_equal(pop3_counts(t.p).in, strlen("+OK hello\r\n-ERR unknown\r\n"));
	assert_int_equal(pop3_counts(t.p).out, strlen("CAPA\r\n"));
	talk_end(&t, "counts", 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(greetings),
		cmocka_unit_test(long_greeting),
		cmocka_unit_test(capa),
		cmocka_unit_test(capa_habits),
		cmocka_unit_test(capa_not_asked),
		cmocka_unit_test(capa_none),
		cmocka_unit_test(capa_sick),
		cmocka_unit_test(long_status),
		cmocka_unit_test(stls),
		cmocka_unit_test(dele),
		cmocka_unit_test(dele_while_wanting),
		cmocka_unit_test(quit),
		cmocka_unit_test(reset),
		cmocka_unit_test(quit_while_wanting),
		cmocka_unit_test(unasked),
		cmocka_unit_test(cancelled),
		cmocka_unit_test(counts),
	};

	return cmocka_run_group_tests_name("pop3", tests, NULL, NULL);
}
