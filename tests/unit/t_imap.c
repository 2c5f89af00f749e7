/* t_imap.c: greeting, capabilities, login, namespaces, and what goes wrong there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "t_imap.h"

static const struct {
	const char *name, *script;
	enum status status;
	int exit;
	const char *text; /* part of the error */
} greetings[] = {
	{ "pop3", "S: +OK hello\n", ST_DENIED, EX_PROTOCOL,
		"mail.example:993 answers as a POP3 server; use the IMAP port (993 or 143)" },
	{ "smtp", "S: 220 mx ESMTP\n", ST_DENIED, EX_PROTOCOL,
		"does not answer as an IMAP server (it said: 220 mx ESMTP)" },
	{ "bye", "S: * BYE too busy\n", ST_RETRY, EX_TEMPFAIL,
		"server said: too busy" },
	{ "end", "EOF\n", ST_RETRY, EX_TEMPFAIL, "closed the connection" },
	{ "silence", "", ST_RETRY, EX_TEMPFAIL, "silent" },
	{ "half a line", "S- * OK\nEOF\n", ST_RETRY, EX_TEMPFAIL, "closed" },
	{ "nonsense", "S: * WHAT\n", ST_RETRY, EX_PROTOCOL, "not as IMAP does" },
	{ "no capability list",
		"S: * OK hi\nC: 1 CAPABILITY\nS: 1 OK done\n" LOGOUT("2"), ST_OK, 0,
		NULL },
	{ "capability refused", "S: * OK hi\nC: 1 CAPABILITY\nS: 1 BAD what\n",
		ST_DENIED, EX_PROTOCOL, "refuses CAPABILITY (server said: what)" },
	{ "bye for capability",
		"S: * OK hi\nC: 1 CAPABILITY\nS: * BYE shutting down\nEOF\n", ST_RETRY,
		EX_TEMPFAIL, "ended the session (server said: shutting down)" },
	{ "wrong tag", "S: * OK hi\nC: 1 CAPABILITY\nS: 9 OK done\n", ST_RETRY,
		EX_PROTOCOL, "what was not asked" },
	{ "unknown untagged",
		"S: * OK hi\nC: 1 CAPABILITY\nS: * XYZZY (a \"b\" {3}\nS: a)b) 5\n"
		"S: * CAPABILITY IMAP4rev1\nS: 1 OK done\n" LOGOUT("2"),
		ST_OK, 0, NULL },
	{ "unknown untagged that begins like a known one",
		"S: * OK hi\nC: 1 CAPABILITY\nS: * STATUS INBOX (SIZE 5 UNHEARDOF (1))\n"
		"S: * CAPABILITY IMAP4rev1\nS: 1 OK done\n" LOGOUT("2"),
		ST_OK, 0, NULL },
	{ "an endless literal", "S: * OK hi\nC: 1 CAPABILITY\nS: * X {99999999}\n",
		ST_DENIED, EX_PROTOCOL, "announced a longer answer" },
	{ "a literal, a bare CR",
		"S: * OK hi\nC: 1 CAPABILITY\nS: * FLAGS (a{4294967295}\\rb)\n",
		ST_DENIED, EX_PROTOCOL, "announced a longer answer" },
	{ "flags in the greeting",
		"S: * OK [PERMANENTFLAGS (\\\\Seen a \"b\" {3}\n"
		"C: 1 CAPABILITY\nS: 1 OK done\n" LOGOUT("2"),
		ST_OK, 0, NULL },
	{ "a greeting without words",
		"S: * OK\nC: 1 CAPABILITY\nS: 1 OK done\n" LOGOUT("2"), ST_OK, 0,
		NULL },
	{ "no capability in the list",
		"S: * OK hi\nC: 1 CAPABILITY\nS: * CAPABILITY\nS: 1 OK done\n" LOGOUT(
			"2"),
		ST_OK, 0, NULL },
	{ "no flag in the list",
		"S: * OK hi\nC: 1 CAPABILITY\nS: * OK [PERMANENTFLAGS (\\\\ a)] x\n",
		ST_DENIED, EX_PROTOCOL, "no flags" },
	{ "no end of the flags",
		"S: * OK hi\nC: 1 CAPABILITY\nS: * OK [permanentflags (\n", ST_DENIED,
		EX_PROTOCOL, "no flags" },
	{ "all sorts of flags",
		"S: * OK hi\nC: 1 CAPABILITY\nS: * OK [PERMANENTFLAGS ()] x\n"
		"S: * OK [PERMANENTFLAGS (\\\\*)] x\n"
		"S: * OK [PERMANENTFLAGS ($Forwarded \\\\Seen)] x\n"
		"S: * OK [PERMANENTFLAGS (\\\\Seen)] PERPERMANENTFLAGS \n"
		"S: 1 OK done\n" LOGOUT("2"),
		ST_OK, 0, NULL },
};

static void test_greetings(void **state)
{
	struct imap_config cfg = rig_config();
	enum status rc;
	struct rig rig;
	size_t k, step;

	(void)state;
	for (k = 0; k < N_ELEMENTS(greetings); k++) {
		for (step = 0; step <= STEP_MAX; step++) {
			rc = rig_open(&rig, greetings[k].script, step, &cfg);
			rig_want(&rig, greetings[k].name, step, rc, greetings[k].status,
				greetings[k].exit, greetings[k].text);
			rig_close(&rig);
		}
	}
}

static void test_parens(void **state)
{
	char text[4096] = "S: * OK hi\nC: 1 CAPABILITY\nS: * X ";
	struct imap_config cfg = rig_config();
	size_t n = strlen(text);
	struct rig rig;

	(void)state;
	memset(text + n, '(', 1000);
	text[n + 1000] = '\n';
	assert_int_equal(rig_open(&rig, text, 0, &cfg), ST_DENIED);
	assert_int_equal(rig.err.exit, EX_PROTOCOL);
	rig_close(&rig);
}

static void test_starttls(void **state)
{
	struct imap_config cfg = rig_config();
	struct rig rig;

	(void)state;
	cfg.net.tls = TLS_STARTTLS;
	assert_int_equal(rig_open(&rig, GREET("ID"), 0, &cfg), ST_DENIED);
	assert_int_equal(rig.err.exit, EX_UNAVAILABLE);
	assert_non_null(strstr(rig.err.text, "does not offer STARTTLS"));
	rig_close(&rig);

	assert_int_equal(
		rig_open(&rig, GREET("STARTTLS") "C: 2 STARTTLS\nS: 2 NO not now\n", 0,
			&cfg),
		ST_DENIED);
	assert_int_equal(rig.err.exit, EX_UNAVAILABLE);
	rig_close(&rig);

	assert_int_equal(rig_open(&rig,
				 "S: * PREAUTH welcome\nC: 1 CAPABILITY\n"
				 "S: * CAPABILITY IMAP4rev1 STARTTLS\nS: 1 OK done\n",
				 0, &cfg),
		ST_DENIED);
	assert_int_equal(rig.err.exit, EX_UNAVAILABLE);
	assert_non_null(strstr(rig.err.text, "already logged in"));
	rig_close(&rig);
}

static void test_server(void **state)
{
	static const char caps[] = "AUTH=PLAIN SASL-IR LITERAL+ LITERAL- MULTIAPPEND "
				   "UIDPLUS ID SPECIAL-USE NAMESPACE LOGINDISABLED "
				   "APPENDLIMIT=35651584 STARTTLS";
	struct imap_config cfg = rig_config();
	const struct imap_server *s;
	char text[1024];
	struct rig rig;

	(void)state;
	snprintf(text, sizeof(text),
		"S: * OK hi there\nC: 1 CAPABILITY\nS: * CAPABILITY IMAP4rev1 %s\n"
		"S: 1 OK done\n" LOGOUT("2"),
		caps);
	assert_int_equal(rig_open(&rig, text, 0, &cfg), ST_OK);
	s = imap_server(rig.imap);
	assert_string_equal(s->greeting, "* OK hi there");
	assert_int_equal(s->n_capability, 13);
	assert_string_equal(s->capability[0], "IMAP4rev1");
	assert_string_equal(s->capability[1], "AUTH=PLAIN");
	assert_true(s->sasl_plain && s->sasl_ir && s->literal_plus && s->literal_minus);
	assert_true(s->multiappend && s->uidplus && s->id && s->special_use);
	assert_true(s->namespace && s->logindisabled && s->starttls);
	assert_int_equal(s->append_limit, 35651584);
	assert_null(s->tls);
	rig_close(&rig);
}

/* base64 of NUL ann NUL pw */
#define PLAIN_RESPONSE "AGFubgBwdw=="

#define AFTER(caps) \
	"C: 3 CAPABILITY\nS: * CAPABILITY IMAP4rev1 " caps "\nS: 3 OK done\n"
#define DELIMITER(tag) \
	"C: " tag " LIST \"\" \"\"\nS: * LIST (\\\\Noselect) \".\" \"\"\nS: " tag \
	" OK done\n"

#define DOVECOT \
	"S: * OK [CAPABILITY IMAP4rev1 SASL-IR ID LITERAL+ AUTH=PLAIN] Dovecot ready.\n"
#define ALL \
	"C: 1 AUTHENTICATE PLAIN " PLAIN_RESPONSE "\nC: 2 ID (\"name\" \"popferry\" " \
	"\"version\" \"" VERSION "\")\nC: 3 NAMESPACE\nC: 4 SELECT INBOX\n"

static const struct {
	const char *name, *script;
	const char *user, *password;
	enum imap_auth auth;
	enum status status;
	int exit;
	const char *text;
	const char *prefix;
	char delimiter;
} logins[] = {
	{ "LOGIN",
		GREET("X") "C: 2 LOGIN ann pw\nS: * 3 EXISTS\nS: 2 OK in\n" AFTER("X")
			DELIMITER("4") LOGOUT("5"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_OK, 0, NULL, "", '.' },
	{ "LOGIN with what must be quoted",
		GREET("X") "C: 2 LOGIN \"a b\" \"p\\\\\"w\\\\\\\\(\"\nS: 2 OK in\n" AFTER(
			"X") DELIMITER("4") LOGOUT("5"),
		"a b", "p\"w\\(", IMAP_AUTH_AUTO, ST_OK, 0, NULL, "", '.' },
	{ "LOGIN with 8-bit",
		GREET("X") "C: 2 LOGIN {3}\nSYNC\nS: + go\n"
			   "C: ann {3}\nSYNC\nS: +\nC: p\\xc3\\xa9\n"
			   "S: 2 OK in\n" AFTER("X") DELIMITER("4") LOGOUT("5"),
		"ann", "p\xc3\xa9", IMAP_AUTH_AUTO, ST_OK, 0, NULL, "", '.' },
	{ "PLAIN with initial response",
		GREET("AUTH=PLAIN SASL-IR") "C: 2 AUTHENTICATE PLAIN " PLAIN_RESPONSE
					    "\nS: * OK still here\nS: 2 OK in\n" AFTER(
						    "X") DELIMITER("4") LOGOUT("5"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_OK, 0, NULL, "", '.' },
	{ "PLAIN in two steps",
		GREET("AUTH=PLAIN") "C: 2 AUTHENTICATE PLAIN\nSYNC\nS: +\n"
				    "C: " PLAIN_RESPONSE "\nS: 2 OK in\n" AFTER("X")
					    DELIMITER("4") LOGOUT("5"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_OK, 0, NULL, "", '.' },
	{ "PLAIN asked again",
		GREET("AUTH=PLAIN SASL-IR") "C: 2 AUTHENTICATE PLAIN " PLAIN_RESPONSE
					    "\nS: + \nC: " PLAIN_RESPONSE
					    "\nS: 2 OK in\n" AFTER("X") DELIMITER("4")
						    LOGOUT("5"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_OK, 0, NULL, "", '.' },
	{ "PLAIN unknown after all",
		GREET("AUTH=PLAIN") "C: 2 AUTHENTICATE PLAIN\nS: 2 BAD what\n"
				    "C: 3 LOGIN ann pw\nS: 3 OK in\n"
				    "C: 4 CAPABILITY\nS: * CAPABILITY IMAP4rev1\n"
				    "S: 4 OK done\n" DELIMITER("5") LOGOUT("6"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_OK, 0, NULL, "", '.' },
	{ "PLAIN refused",
		GREET("AUTH=PLAIN SASL-IR") "C: 2 AUTHENTICATE PLAIN " PLAIN_RESPONSE
					    "\nS: 2 NO [AUTHENTICATIONFAILED] nope\n" LOGOUT(
						    "3"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_DENIED, EX_NOPERM,
		"login refused for ann at mail.example:993 (server said: "
		"[AUTHENTICATIONFAILED] nope)",
		NULL, 0 },
	{ "LOGIN refused", GREET("X") "C: 2 LOGIN ann pw\nS: 2 NO wrong\n" LOGOUT("3"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_DENIED, EX_NOPERM,
		"login refused for ann at mail.example:993 (server said: wrong)", NULL,
		0 },
	{ "LOGIN refused, and said back",
		GREET("X") "C: 2 LOGIN ann pw\nS: 2 NO LOGIN ann pw?\n" LOGOUT("3"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_DENIED, EX_NOPERM,
		"login refused for ann at mail.example:993 (server said: not shown, for "
		"it repeats the password); check",
		NULL, 0 },
	{ "LOGIN refused, and said back with its quotes",
		GREET("X") "C: 2 LOGIN ann \"p\\\\\"w\"\n"
			   "S: 2 NO LOGIN ann \"p\\\\\"w\"?\n" LOGOUT("3"),
		"ann", "p\"w", IMAP_AUTH_AUTO, ST_DENIED, EX_NOPERM,
		"(server said: not shown, for it repeats the password); check", NULL,
		0 },
	{ "PLAIN refused, and said back",
		GREET("AUTH=PLAIN SASL-IR") "C: 2 AUTHENTICATE PLAIN " PLAIN_RESPONSE
					    "\nS: 2 NO " PLAIN_RESPONSE
					    "?\n" LOGOUT("3"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_DENIED, EX_NOPERM,
		"(server said: not shown, for it repeats the password); check", NULL,
		0 },
	{ "LOGIN is BAD", GREET("X") "C: 2 LOGIN ann pw\nS: 2 BAD wrong\n" LOGOUT("3"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_DENIED, EX_NOPERM, "login refused",
		NULL, 0 },
	{ "LOGIN throttled",
		GREET("X") "C: 2 LOGIN ann pw\nS: 2 NO [UNAVAILABLE] later\n" LOGOUT(
			"3"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_RETRY, EX_TEMPFAIL,
		"server said: [UNAVAILABLE] later", NULL, 0 },
	{ "too many connections",
		GREET("X") "C: 2 LOGIN ann pw\n"
			   "S: 2 NO [ALERT] Too many simultaneous connections.\n" LOGOUT(
				   "3"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_RETRY, EX_TEMPFAIL, "Too many", NULL,
		0 },
	{ "bye at login", GREET("X") "C: 2 LOGIN ann pw\nS: * BYE go away\nEOF\n",
		"ann", "pw", IMAP_AUTH_AUTO, ST_RETRY, EX_TEMPFAIL,
		"server said: go away", NULL, 0 },
	{ "bye at AUTHENTICATE",
		GREET("AUTH=PLAIN") "C: 2 AUTHENTICATE PLAIN\nS: * BYE go away\nEOF\n",
		"ann", "pw", IMAP_AUTH_AUTO, ST_RETRY, EX_TEMPFAIL,
		"server said: go away", NULL, 0 },
	{ "no way in", GREET("LOGINDISABLED") LOGOUT("2"), "ann", "pw", IMAP_AUTH_AUTO,
		ST_DENIED, EX_UNAVAILABLE, "no way to log in", NULL, 0 },
	{ "injection in the password", GREET("X") LOGOUT("2"), "ann",
		"pw\r\nx DELETE INBOX", IMAP_AUTH_AUTO, ST_DENIED, EX_USAGE,
		"line break", NULL, 0 },
	{ "PREAUTH",
		"S: * PREAUTH hello\nC: 1 CAPABILITY\nS: * CAPABILITY IMAP4rev1\n"
		"S: 1 OK done\nC: 2 CAPABILITY\nS: * CAPABILITY IMAP4rev1\n"
		"S: 2 OK done\n" DELIMITER("3") LOGOUT("4"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_OK, 0, NULL, "", '.' },
	{ "ID and NAMESPACE",
		GREET("X") "C: 2 LOGIN ann pw\nS: 2 OK in\n" AFTER(
			"ID NAMESPACE") "C~ 4 ID (\"name\" \"popferry\" \"version\"\n"
					"S: * ID (\"name\" \"x\" \"odd\" NIL {3}\n"
					"S: abc)\n"
					"S: 4 OK done\n"
					"C: 5 NAMESPACE\n"
					"S: * NAMESPACE ((\"INBOX.\" \".\")(\"#x/\" \"/\")) NIL "
					"((\"Shared/\" \"/\"))\n"
					"S: 5 OK done\n" LOGOUT("6"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_OK, 0, NULL, "INBOX.", '.' },
	{ "ID refused, no personal namespace",
		GREET("X") "C: 2 LOGIN ann pw\nS: 2 OK in\n" AFTER(
			"ID NAMESPACE") "C~ 4 ID (\n"
					"S: 4 BAD no\n"
					"C: 5 NAMESPACE\n"
					"S: * NAMESPACE NIL NIL NIL\n"
					"S: 5 OK done\n" DELIMITER("6") LOGOUT("7"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_OK, 0, NULL, "", '.' },
	{ "NAMESPACE unknown",
		GREET("X") "C: 2 LOGIN ann pw\nS: 2 OK in\n" AFTER(
			"NAMESPACE") "C: 4 NAMESPACE\nS: 4 BAD what\n" DELIMITER("5")
			LOGOUT("6"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_OK, 0, NULL, "", '.' },
	{ "on Dovecot all at once",
		DOVECOT ALL
		"S: 1 OK [CAPABILITY IMAP4rev1 NAMESPACE] in\nS: * ID NIL\nS: 2 OK done\n"
		"S: * NAMESPACE ((\"M.\" \".\")) NIL NIL\nS: 3 OK done\n"
		"S: * 2 EXISTS\nS: * OK [UIDVALIDITY 77] valid\n"
		"S: * OK [UIDNEXT 9] next\nS: 4 OK selected\n" LOGOUT("5"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_OK, 0, NULL, "M.", '.' },
	{ "on Dovecot, and half of it is refused",
		DOVECOT ALL
		"S: 1 OK in\nS: 2 BAD what\nS: 3 NO no\nS: 4 NO [SERVERBUG] no\n"
		"C: 5 LIST \"\" \"\"\nS: * LIST (\\\\Noselect) \".\" \"\"\nS: 5 OK done\n"
		"C: 6 CAPABILITY\nS: * CAPABILITY IMAP4rev1\nS: 6 OK done\n" LOGOUT(
			"7"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_OK, 0, NULL, "", '.' },
	{ "on Dovecot, refused",
		DOVECOT ALL
		"S: 1 NO [AUTHENTICATIONFAILED] nope\nS: 2 OK\nS: 3 BAD no\n"
		"S: 4 BAD no\n" LOGOUT("5"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_DENIED, EX_NOPERM, "login refused",
		NULL, 0 },
	{ "on Dovecot, and it is unknown after all",
		DOVECOT ALL "S: 1 BAD what\nS: 2 OK\nS: 3 BAD no\nS: 4 BAD no\n"
			    "C: 5 AUTHENTICATE PLAIN " PLAIN_RESPONSE
			    "\nS: 5 BAD what\nC: 6 LOGIN ann pw\nS: 6 OK in\n"
			    "C: 7 CAPABILITY\nS: * CAPABILITY IMAP4rev1\n"
			    "S: 7 OK done\n" DELIMITER("8") LOGOUT("9"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_OK, 0, NULL, "", '.' },
	{ "on Dovecot, and it asks", DOVECOT ALL "S: + \n", "ann", "pw", IMAP_AUTH_AUTO,
		ST_RETRY, EX_PROTOCOL, "was not asked", NULL, 0 },
	{ "LIST for the delimiter unknown",
		GREET("X") "C: 2 LOGIN ann pw\nS: 2 OK in\n" AFTER(
			"X") "C: 4 LIST \"\" \"\"\nS: 4 BAD what\n" LOGOUT("5"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_OK, 0, NULL, "", 0 },
	{ "NAMESPACE refused, flat",
		GREET("X") "C: 2 LOGIN ann pw\nS: 2 OK in\n" AFTER(
			"NAMESPACE") "C: 4 NAMESPACE\nS: 4 NO no\n"
				     "C: 5 LIST \"\" \"\"\n"
				     "S: * LIST () NIL \"\"\nS: 5 OK done\n" LOGOUT(
					     "6"),
		"ann", "pw", IMAP_AUTH_AUTO, ST_OK, 0, NULL, "", 0 },
};

static void test_logins(void **state)
{
	struct imap_config cfg = rig_config();
	enum status rc;
	struct rig rig;
	size_t k, step;

	(void)state;
	for (k = 0; k < N_ELEMENTS(logins); k++) {
		for (step = 0; step <= STEP_MAX; step++) {
			cfg.user = logins[k].user;
			cfg.password = logins[k].password;
			cfg.auth = logins[k].auth;
			cfg.inbox = strstr(logins[k].script, "SELECT INBOX") != NULL;
			rc = rig_open(&rig, logins[k].script, step, &cfg);
			assert_int_equal(rc, ST_OK);
			rc = imap_login(rig.imap, &rig.err);
			rig_want(&rig, logins[k].name, step, rc, logins[k].status,
				logins[k].exit, logins[k].text);
			if (logins[k].prefix) {
				assert_string_equal(imap_server(rig.imap)->prefix,
					logins[k].prefix);
				assert_int_equal(imap_server(rig.imap)->delimiter,
					logins[k].delimiter);
			}
			rig_close(&rig);
		}
	}
}

static void test_wait(void **state)
{
	struct imap_config cfg = rig_config();
	struct rig rig;

	(void)state;
	assert_int_equal(
		rig_open(&rig,
			GREET("X") "C: 2 LOGIN ann pw\n"
				   "S: 2 BAD Request is throttled. Suggested Backoff "
				   "Time: 299961 milliseconds\n" LOGOUT("3"),
			0, &cfg),
		ST_OK);
	assert_int_equal(imap_wait_ms(rig.imap), 0);
	assert_int_equal(imap_login(rig.imap, &rig.err), ST_RETRY);
	assert_int_equal(rig.err.exit, EX_TEMPFAIL);
	assert_int_equal(imap_wait_ms(rig.imap), 299961);
	rig_close(&rig);

	assert_int_equal(
		rig_open(&rig,
			GREET("X") "C: 2 LOGIN ann pw\n"
				   "S: 2 NO throttled, backoff time: 99999999999 ms\n" LOGOUT(
					   "3"),
			0, &cfg),
		ST_OK);
	assert_int_equal(imap_login(rig.imap, &rig.err), ST_RETRY);
	assert_int_equal(imap_wait_ms(rig.imap), 30 * 60 * 1000);
	rig_close(&rig);
}

/* Neither the password nor any coding of it is ever in the trace. */
static void test_secrets(void **state)
{
	static const char *const scripts[] = {
		GREET("X") "C: 2 LOGIN ann Sesame9\nS: 2 NO no\n" LOGOUT("3"),
		GREET("AUTH=PLAIN SASL-IR") "C: 2 AUTHENTICATE PLAIN AGFubgBTZXNhbWU5\n"
					    "S: 2 NO no\n" LOGOUT("3"),
		GREET("AUTH=PLAIN") "C: 2 AUTHENTICATE PLAIN\nS: +\n"
				    "C: AGFubgBTZXNhbWU5\nS: 2 NO no\n" LOGOUT("3"),
	};
	static const char literal[] = GREET(
		"X") "C: 2 LOGIN {3}\nS: +\nC: ann {8}\nS: +\n"
		     "C: Sesame9\\xe9\nS: 2 NO no\n" LOGOUT("3");
	char path[] = "/tmp/t_imap_XXXXXX", text[8192];
	struct imap_config cfg = rig_config();
	struct trace *trace = NULL;
	struct rig rig;
	size_t k, n;
	FILE *f;

	(void)state;
	close(mkstemp(path));
	assert_int_equal(trace_open(&trace, path, NULL), ST_OK);
	cfg.net.trace = trace;
	for (k = 0; k < N_ELEMENTS(scripts) + 1; k++) {
		cfg.password = k < N_ELEMENTS(scripts) ? "Sesame9" : "Sesame9\xe9";
		assert_int_equal(
			rig_open(&rig, k < N_ELEMENTS(scripts) ? scripts[k] : literal,
				0, &cfg),
			ST_OK);
		assert_int_equal(imap_login(rig.imap, &rig.err), ST_DENIED);
		rig_close(&rig);
	}
	trace_close(&trace);
	f = fopen(path, "r");
	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	fclose(f);
	unlink(path);
	assert_non_null(strstr(text, "AUTHENTICATE PLAIN"));
	assert_null(strstr(text, "Sesame9"));
	assert_null(strstr(text, "AGFubgBT"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_greetings),
		cmocka_unit_test(test_parens),
		cmocka_unit_test(test_starttls),
		cmocka_unit_test(test_server),
		cmocka_unit_test(test_logins),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_secrets),
	};

	log_setup(LOG_TEXT, LV_ERROR, 2);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
