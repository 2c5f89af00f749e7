/* t_pop3_login.c: ways to log in (in two steps: quirk Q66), refusals, secrets, the
 * canary. */
#include "t_pop3.h"

#include <popferry/fs.h>

#include <unistd.h>

#define AFTER "C: CAPA\nS: -ERR unknown\n"
#define STAMP "S: +OK ready <1896.697170952@dbc.mtview.ca.us>\nC: CAPA\nS: -ERR\n"
#define SASL "S: +OK hi\nC: CAPA\nS: +OK\nS: SASL PLAIN\nS: .\n"

struct way {
	const char *name, *script;
	enum pop3_auth auth;
	enum status st;
	int ex;
	const char *text;
};

static void run(const struct way *w, const struct pop3_config *base)
{
	struct pop3_config cfg = *base;
	struct talk t;
	size_t step;

	cfg.auth = w->auth;
	for (step = 0; step <= steps_of(w->script); step++) {
		talk_open(&t, w->script, step, &cfg, NULL);
		expect(w->name, step, &t.err, t.st, ST_OK);
		expect_err(w->name, step, &t.err, pop3_login(t.p, &t.err), w->st, w->ex,
			w->text);
		assert_null(strstr(t.err.text, "secret "));
		talk_end(&t, w->name, step);
	}
}

static void ways(void **state)
{
	static const struct way rows[] = {
		{ "USER", HELLO "C: USER joe\nS: +OK\nC: PASS secret\nS: +OK\n" AFTER,
			POP3_AUTH_AUTO, ST_OK, 0, "" },
		{ "PLAIN",
			SASL
			"C: AUTH PLAIN\nS: + \nC: AGpvZQBzZWNyZXQ=\nS: +OK\n" AFTER,
			POP3_AUTH_AUTO, ST_OK, 0, "" },
		{ "PLAIN, bare plus",
			SASL "C: AUTH PLAIN\nS: +\nC: AGpvZQBzZWNyZXQ=\nS: +ok\n" AFTER,
			POP3_AUTH_AUTO, ST_OK, 0, "" },
		{ "PLAIN pinned",
			HELLO
			"C: AUTH PLAIN\nS: + \nC: AGpvZQBzZWNyZXQ=\nS: +OK\n" AFTER,
			POP3_AUTH_PLAIN, ST_OK, 0, "" },
		{ "PLAIN offered but unknown",
			SASL "C: AUTH PLAIN\nS: -ERR unknown command\n"
			     "C: USER joe\nS: +OK\nC: PASS secret\nS: +OK\n" AFTER,
			POP3_AUTH_AUTO, ST_OK, 0, "" },
		{ "PLAIN pinned, unknown",
			HELLO "C: AUTH PLAIN\nS: -ERR unknown command\n",
			POP3_AUTH_PLAIN, ST_DENIED, EX_NOPERM, "unknown command" },
		{ "PLAIN in use at once", SASL "C: AUTH PLAIN\nS: -ERR [IN-USE] x\n",
			POP3_AUTH_AUTO, ST_RETRY, EX_TEMPFAIL, "in use" },
		{ "PLAIN refused, no other try",
			SASL "C: AUTH PLAIN\nS: + \nC: AGpvZQBzZWNyZXQ=\nS: -ERR bad\n",
			POP3_AUTH_AUTO, ST_DENIED, EX_NOPERM, "app password" },
		{ "PLAIN asked on",
			SASL "C: AUTH PLAIN\nS: + \nC: AGpvZQBzZWNyZXQ=\nS: + more\n",
			POP3_AUTH_AUTO, ST_RETRY, EX_PROTOCOL, "more" },
		{ "PLAIN too soon", SASL "C: AUTH PLAIN\nS: +OK\n", POP3_AUTH_AUTO,
			ST_RETRY, EX_PROTOCOL, "AUTH PLAIN" },
		{ "USER pinned",
			SASL "C: USER joe\nS: +OK\nC: PASS secret\nS: +OK\n" AFTER,
			POP3_AUTH_USER, ST_OK, 0, "" },
		{ "APOP",
			STAMP
			"C: APOP joe 3f18b52881e44c0cc6067f46e0ced7bc\nS: +OK\n" AFTER,
			POP3_AUTH_AUTO, ST_OK, 0, "" },
		{ "APOP refused, no other try",
			STAMP
			"C: APOP joe 3f18b52881e44c0cc6067f46e0ced7bc\nS: -ERR no\n",
			POP3_AUTH_AUTO, ST_DENIED, EX_NOPERM, "no" },
		{ "APOP not offered", HELLO, POP3_AUTH_APOP, ST_DENIED, EX_UNAVAILABLE,
			"does not offer APOP" },
		{ "bad stamp",
			"S: +OK <no at> <a@b\\x80> < x@y>\nC: CAPA\nS: -ERR\n"
			"C: USER joe\nS: +OK\nC: PASS secret\nS: +OK\n" AFTER,
			POP3_AUTH_AUTO, ST_OK, 0, "" },
		{ "USER refused", HELLO "C: USER joe\nS: -ERR no such user\n",
			POP3_AUTH_AUTO, ST_DENIED, EX_NOPERM,
			"login refused for joe at source (server said: no such user); check" },
		{ "USER odd", HELLO "C: USER joe\nS: joe who?\n", POP3_AUTH_AUTO,
			ST_RETRY, EX_PROTOCOL, "joe who?" },
		{ "junk after USER", HELLO "C: USER joe\nS: hm\n", POP3_AUTH_AUTO,
			ST_RETRY, EX_PROTOCOL, "hm" },
		{ "PASS odd", HELLO "C: USER joe\nS: +OK\nC: PASS secret\nS: hm\n",
			POP3_AUTH_AUTO, ST_RETRY, EX_PROTOCOL, "hm" },
		{ "hangs up at PASS",
			HELLO "C: USER joe\nS: +OK\nC: PASS secret\nEOF\n",
			POP3_AUTH_AUTO, ST_RETRY, EX_TEMPFAIL, "login" },
	};
	struct pop3_config cfg = joe();
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++)
		run(&rows[i], &cfg);
}

static void refusals(void **state)
{
	static const struct {
		const char *words;
		enum status st;
		int ex;
	} rows[] = {
		{ "[AUTH] no", ST_DENIED, EX_NOPERM },
		{ "[auth] mailbox is locked", ST_DENIED, EX_NOPERM },
		{ "[AUTH/EXPIRED] no", ST_DENIED, EX_NOPERM },
		{ "[SYS/PERM] no", ST_DENIED, EX_UNAVAILABLE },
		{ "[SYS/TEMP] later", ST_RETRY, EX_TEMPFAIL },
		{ "[sys/temp]", ST_RETRY, EX_TEMPFAIL },
		{ "[IN-USE] x", ST_RETRY, EX_TEMPFAIL },
		{ "[LOGIN-DELAY] x", ST_RETRY, EX_TEMPFAIL },
		{ "[X-OTHER] no", ST_DENIED, EX_NOPERM },
		{ "[X-OTHER] maildrop already locked", ST_RETRY, EX_TEMPFAIL },
		{ "[AUTHENTICATED] no", ST_DENIED, EX_NOPERM },
		{ "[SYS/TEMP no", ST_DENIED, EX_NOPERM },
		{ "", ST_DENIED, EX_NOPERM },
		{ "invalid password", ST_DENIED, EX_NOPERM },
		{ "mailbox already in use by pid 42", ST_RETRY, EX_TEMPFAIL },
		{ "Locked by another POP3 session", ST_RETRY, EX_TEMPFAIL },
		{ "can't get LOCK", ST_RETRY, EX_TEMPFAIL },
		{ "Please wait a few minutes", ST_RETRY, EX_TEMPFAIL },
		{ "POP3 service unavailable", ST_RETRY, EX_TEMPFAIL },
		{ "Temporary failure", ST_RETRY, EX_TEMPFAIL },
		{ "your account is blocked", ST_DENIED, EX_NOPERM },
		{ "[LOGIN-DELAY 60] x", ST_RETRY, EX_TEMPFAIL },
		{ "[IN-USE] Do you have another POP session running?", ST_RETRY,
			EX_TEMPFAIL },
		{ "Maildrop already locked", ST_RETRY, EX_TEMPFAIL },
		{ "mailbox is already open", ST_RETRY, EX_TEMPFAIL },
		{ "server overloaded", ST_RETRY, EX_TEMPFAIL },
		{ "down for maintenance", ST_RETRY, EX_TEMPFAIL },
		{ "login rate exceeded", ST_RETRY, EX_TEMPFAIL },
		{ "temporarily unavailable", ST_RETRY, EX_TEMPFAIL },
	};
	struct pop3_config cfg = joe();
	struct talk t;
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		char *text = xasprintf(HELLO
			"C: USER joe\nS: +OK\nC: PASS secret\nS: -ERR %s\n",
			rows[i].words);

		talk_open(&t, text, 1, &cfg, NULL);
		expect_err(rows[i].words, 1, &t.err, pop3_login(t.p, &t.err),
			rows[i].st, rows[i].ex, rows[i].words);
		assert_string_equal(t.err.reply, *rows[i].words ? rows[i].words : "");
		talk_end(&t, rows[i].words, 1);
		free(text);
	}
}

/* Refused before a byte of them is sent. */
static void bad_credentials(void **state)
{
	static char long_248[248 + 1], long_249[249 + 1], long_5000[5000 + 1];
	const struct {
		const char *name, *user, *password;
		enum pop3_auth auth;
		const char *text;
	} rows[] = {
		{ "CR in user", "joe\rDELE 1", "x", POP3_AUTH_USER, "line end" },
		{ "LF in password", "joe", "x\nDELE 1", POP3_AUTH_USER, "line end" },
		{ "LF, PLAIN", "joe", "x\nDELE 1", POP3_AUTH_PLAIN, "line end" },
		{ "long user", long_249, "x", POP3_AUTH_USER, "longer than the 248" },
		{ "long password", "joe", long_249, POP3_AUTH_USER, "longer than" },
		{ "long, PLAIN", "joe", long_5000, POP3_AUTH_PLAIN, "longer than" },
		{ "no user", "", "x", POP3_AUTH_USER, "user name is empty" },
		{ "no password", "joe", "", POP3_AUTH_USER, "password is empty" },
		{ "neither", NULL, NULL, POP3_AUTH_AUTO, "user name is empty" },
	};
	struct pop3_config cfg;
	struct talk t;
	char *text;
	size_t i;

	(void)state;
	memset(long_248, 'a', sizeof(long_248) - 1);
	memset(long_249, 'a', sizeof(long_249) - 1);
	memset(long_5000, 'a', sizeof(long_5000) - 1);
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		cfg = joe();
		cfg.user = rows[i].user;
		cfg.password = rows[i].password;
		cfg.auth = rows[i].auth;
		talk_open(&t, HELLO, 0, &cfg, NULL);
		expect_err(rows[i].name, 0, &t.err, pop3_login(t.p, &t.err), ST_DENIED,
			EX_USAGE, rows[i].text);
		talk_end(&t, rows[i].name, 0);
	}
	cfg = joe();
	cfg.user = cfg.password = long_248;
	text = xasprintf(HELLO "C: USER %s\nS: +OK\nC: PASS %s\nS: +OK\n" AFTER,
		long_248, long_248);
	talk_open(&t, text, 0, &cfg, NULL);
	expect("longest", 0, &t.err, pop3_login(t.p, &t.err), ST_OK);
	talk_end(&t, "longest", 0);
	free(text);
}

/* ---- secrets ---- */

static char *slurp(const char *path)
{
	FILE *f = fopen(path, "rb");
	struct buf b = BUF_INIT(1 << 20);
	char part[4096];
	size_t n;

	assert_non_null(f);
	while ((n = fread(part, 1, sizeof(part), f)) > 0)
		buf_add(&b, part, n);
	fclose(f);
	buf_add(&b, "", 0);
	return buf_take(&b);
}

static void secrets(void **state)
{
	static const struct {
		const char *name, *script, *shown;
	} rows[] = {
		{ "USER",
			HELLO
			"C: USER joe\nS: +OK\nC: PASS secret\nS: -ERR [AUTH] nay\n",
			"S: -ERR [AUTH] nay" },
		{ "PLAIN",
			SASL "C: AUTH PLAIN\nS: + \nC: AGpvZQBzZWNyZXQ=\nS: -ERR nay\n",
			"S: -ERR nay" },
		{ "APOP",
			STAMP
			"C: APOP joe 3f18b52881e44c0cc6067f46e0ced7bc\nS: -ERR nay\n",
			"S: -ERR nay" },
		{ "password said back",
			HELLO "C: USER joe\nS: +OK\nC: PASS secret\n"
			      "S: -ERR password secret is wrong\n",
			"S: -ERR <secret>" },
		{ "token said back",
			SASL "C: AUTH PLAIN\nS: + \nC: AGpvZQBzZWNyZXQ=\n"
			     "S: -ERR what is AGpvZQBzZWNyZXQ=\n",
			"S: -ERR <secret>" },
		{ "token decoded",
			SASL "C: AUTH PLAIN\nS: + \nC: AGpvZQBzZWNyZXQ=\n"
			     "S: -ERR not joe:secret\n",
			"S: -ERR <secret>" },
		{ "said back oddly",
			HELLO "C: USER joe\nS: +OK\nC: PASS secret\nS: secret?\n", "" },
	};
	static const char *const hidden[] = { "secret ", "secret?", ":secret", "AGpv",
		"3f18" };
	char path[] = "/tmp/t_pop3_login.XXXXXX";
	struct pop3_config cfg = joe();
	struct talk t;
	size_t i, k, step;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		for (step = 0; step <= steps_of(rows[i].script); step++) {
			struct err err = ERR_INIT;
			struct trace *trace;
			char *told;
			int fd;

			memcpy(path + sizeof(path) - 7, "XXXXXX", 6);
			fd = mkstemp(path);
			assert_true(fd >= 0);
			close(fd);
			assert_int_equal(trace_open(&trace, path, &err), ST_OK);
			talk_open(&t, rows[i].script, step, &cfg, trace);
			assert_true(pop3_login(t.p, &t.err) < 0);
			talk_end(&t, rows[i].name, step);
			trace_close(&trace);
			told = slurp(path);
			unlink(path);
			for (k = 0; k < N_ELEMENTS(hidden); k++)
				if (strstr(told, hidden[k]) ||
					strstr(t.err.text, hidden[k]) ||
					strstr(t.err.reply, hidden[k]))
					fail_msg("%s: %s in: %s %s", rows[i].name,
						hidden[k], t.err.text, told);
			if (!strstr(told, rows[i].shown))
				fail_msg("%s: no %s in: %s", rows[i].name,
					rows[i].shown, told);
			free(told);
		}
	}
}

/* ---- the canary ---- */

static void ignore(void *ctx, const char *p, size_t n)
{
	(void)ctx;
	(void)p;
	(void)n;
}

static void canary(void **state)
{
	static const struct {
		const char *name, *replies;
		enum pop3_pipelining pipelining;
		enum status st;
		int ex;
	} rows[] = {
		{ "good", "C: NOOP\nC: NOOP\nS: +OK\nS: +OK\n", POP3_PIPELINE_AUTO,
			ST_OK, 0 },
		{ "not wanted", "", POP3_PIPELINE_NO, ST_OK, 0 },
		{ "one reply", "C: NOOP\nC: NOOP\nS: +OK\n", POP3_PIPELINE_AUTO,
			ST_RETRY, EX_TEMPFAIL },
		{ "hangs up", "C: NOOP\nC: NOOP\nS: +OK\nEOF\n", POP3_PIPELINE_AUTO,
			ST_RETRY, EX_TEMPFAIL },
		{ "second refused", "C: NOOP\nC: NOOP\nS: +OK\nS: -ERR what?\n",
			POP3_PIPELINE_AUTO, ST_RETRY, EX_PROTOCOL },
		{ "odd", "C: NOOP\nC: NOOP\nS: +OK\nS: OP\n", POP3_PIPELINE_AUTO,
			ST_RETRY, EX_PROTOCOL },
		{ "three replies", "C: NOOP\nC: NOOP\nS: +OK\nS: +OK\nS: +OK\n",
			POP3_PIPELINE_AUTO, ST_RETRY, EX_PROTOCOL },
	};
	struct talk t;
	size_t i, step;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		struct pop3_config cfg = joe();
		char *text = xasprintf(HELLO
			"C: USER joe\nS: +OK\nC: PASS secret\nS: +OK\n" CAPA_AHEAD "%s",
			rows[i].replies);

		cfg.pipelining = rows[i].pipelining;
		for (step = 0; step <= steps_of(text); step++) {
			talk_open(&t, text, step, &cfg, NULL);
			expect_err(rows[i].name, step, &t.err, pop3_login(t.p, &t.err),
				rows[i].st, rows[i].ex, "");
			assert_int_equal(
				pop3_pipelining_failed(t.p), rows[i].st != ST_OK);
			talk_end(&t, rows[i].name, step);
		}
		free(text);
	}
}

/* What CAPA said before the login counts no more when it is said anew, though the
 * canary went out with it. */
static void capa_again(void **state)
{
	static const char script[] = HELLO_AHEAD
		"C: USER joe\nS: +OK\nC: PASS secret\nS: +OK\n"
		"C: CAPA\nC: NOOP\nC: NOOP\nS: +OK\nS: UIDL\nS: .\nS: +OK\nS: +OK\n"
		"C: LIST\nSYNC\nS: +OK\nS: .\nC: UIDL\nSYNC\nS: +OK\nS: .\n";
	struct pop3_listing l;
	struct pop3_config cfg = joe();
	struct talk t;

	(void)state;
	talk_open(&t, script, 0, &cfg, NULL);
	assert_true(pop3_server(t.p)->pipelining);
	expect("login", 0, &t.err, pop3_login(t.p, &t.err), ST_OK);
	assert_false(pop3_server(t.p)->pipelining);
	assert_int_equal(pop3_server(t.p)->n_capa, 1);
	expect("list", 0, &t.err, pop3_list(t.p, &l, &t.err), ST_OK);
	talk_end(&t, "capa again", 0);
}

/* One write and one wait between the login and the end of the listing. */
static void listing_at_once(void **state)
{
#define BOTH "S: +OK\nS: 1 100\nS: .\nS: +OK\nS: 1 a\nS: .\n"
#define IN "C: USER joe\nS: +OK\nC: PASS secret\nS: +OK\n"
	static const struct {
		const char *name, *script;
	} rows[] = {
		{ "together",
			HELLO_AHEAD IN "C: CAPA\nC: NOOP\nC: NOOP\nC: LIST\nC: UIDL\n"
				       "S: +OK\nS: PIPELINING\nS: UIDL\nS: .\n"
				       "S: +OK\nS: +OK\n" BOTH "C: QUIT\n" },
		{ "together, with STAT",
			HELLO_AHEAD IN
			"C: CAPA\nC: NOOP\nC: NOOP\nC: STAT\nC: LIST\nC: UIDL\n"
			"S: +OK\nS: PIPELINING\nS: UIDL\nS: .\n"
			"S: +OK\nS: +OK\nS: +OK 7 8\n" BOTH "C: QUIT\n" },
		{ "refuses the second CAPA",
			HELLO_AHEAD IN "C: CAPA\nC: NOOP\nC: NOOP\nC: LIST\nC: UIDL\n"
				       "S: -ERR\nS: +OK\nS: +OK\n" BOTH "C: QUIT\n" },
		{ "offered after the login",
			HELLO IN CAPA_AHEAD "C: NOOP\nC: NOOP\nC: LIST\nC: UIDL\n"
					    "S: +OK\nS: +OK\n" BOTH "C: QUIT\n" },
		{ "offered no more",
			HELLO_AHEAD IN "C: CAPA\nC: NOOP\nC: NOOP\nC: LIST\nC: UIDL\n"
				       "S: +OK\nS: UIDL\nS: .\nS: +OK\nS: +OK\n" BOTH
				       "C: QUIT\n" },
		{ "never offered",
			HELLO LOGIN "C: LIST\nSYNC\nS: +OK\nS: 1 100\nS: .\n"
				    "C: UIDL\nSYNC\nS: +OK\nS: 1 a\nS: .\nC: QUIT\n" },
		{ "on Dovecot, in the words it knows",
			"S: +OK Dovecot ready.\nC: CAPA\nS: +OK\nS: PIPELINING\n"
			"S: SASL PLAIN\nS: .\nC: AUTH PLAIN AGpvZQBzZWNyZXQ=\n"
			"C: CAPA\nC: NOOP\nC: NOOP\nC: LAST\nC: LIST\nC: UIDL\n"
			"S: +OK\nS: +OK\nS: PIPELINING\nS: .\nS: +OK\nS: +OK\nS: -ERR what?\n" BOTH
			"C: RETR 1\nS: +OK\nS: x\nS: .\n"
			"C: RSET\nC: QUIT\nS: +OK\nS: +OK\n" },
		{ "on Dovecot where LAST works",
			"S: +OK Dovecot ready.\nC: CAPA\nS: +OK\nS: PIPELINING\n"
			"S: SASL PLAIN\nS: .\nC: AUTH PLAIN AGpvZQBzZWNyZXQ=\n"
			"C: CAPA\nC: NOOP\nC: NOOP\nC: LAST\nC: LIST\nC: UIDL\n"
			"S: +OK\nS: +OK\nS: PIPELINING\nS: .\nS: +OK\nS: +OK\nS: +OK 3\n" BOTH
			"C: RETR 1\nS: +OK\nS: x\nS: .\nC: QUIT\nS: +OK\n" },
	};
#undef BOTH
#undef IN
	struct pop3_config cfg = joe();
	struct pop3_listing l;
	uint32_t number;
	struct talk t;
	size_t i, step;

	(void)state;
	cfg.lists = true;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		cfg.stat = strstr(rows[i].script, "STAT") != NULL;
		for (step = 0; step <= steps_of(rows[i].script); step++) {
			talk_open(&t, rows[i].script, step, &cfg, NULL);
			expect(rows[i].name, step, &t.err, pop3_login(t.p, &t.err),
				ST_OK);
			expect(rows[i].name, step, &t.err, pop3_list(t.p, &l, &t.err),
				ST_OK);
			assert_int_equal(l.n, 1);
			assert_int_equal(l.items[0].uidl_n, 1);
			assert_true((l.stat_count == 7) == cfg.stat);
			if (strstr(rows[i].script, "RETR")) {
				pop3_want(t.p, 1, 3);
				expect(rows[i].name, step, &t.err,
					pop3_next(t.p, &number, ignore, NULL, &t.err),
					ST_OK);
			}
			expect(rows[i].name, step, &t.err, pop3_quit(t.p, &t.err),
				ST_OK);
			talk_end(&t, rows[i].name, step);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ways),
		cmocka_unit_test(refusals),
		cmocka_unit_test(bad_credentials),
		cmocka_unit_test(secrets),
		cmocka_unit_test(canary),
		cmocka_unit_test(capa_again),
		cmocka_unit_test(listing_at_once),
	};

	return cmocka_run_group_tests_name("pop3_login", tests, NULL, NULL);
}
