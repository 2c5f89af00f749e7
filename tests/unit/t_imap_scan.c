/* t_imap_scan.c: FETCH: the scanner, the windows, one message back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <popferry/buf.h>

#include "t_imap.h"

#define OPEN(caps, exists, uidnext) \
	GREET(caps) LOGIN(caps, "\"/\"") SELECT("5", "INBOX", exists, uidnext)

#define ASK(tag, set) \
	"C: " tag " UID FETCH " set \
	" (UID RFC822.SIZE BODY.PEEK[HEADER.FIELDS (Message-ID From Date " \
	"Subject To Cc List-Id)])\n"

#define FIELDS "BODY[HEADER.FIELDS (\"Message-ID\" From Date Subject To Cc List-Id)]"

/* What each() saw, as text: "UID SIZE <header>;". */
static void note(void *ctx, const struct imap_seen *m)
{
	struct buf *b = ctx;

	buf_addf(b, "%u %u <", m->uid, (unsigned)m->size);
	buf_add(b, m->header, m->header_n);
	buf_adds(b, ">;");
}

static const struct {
	const char *name, *script;
	uint32_t first;
	enum status status;
	int exit;
	const char *seen;
} rows[] = {
	/* clang-format off */
	{ "empty", OPEN("X", "0", "12") LOGOUT("6"), 1, ST_OK, 0, "" },
	{ "nothing from there on", OPEN("X", "2", "12") LOGOUT("6"), 12, ST_OK, 0, "" },
	{ "literals, quoted, NIL, any order", OPEN("X", "9", "12") ASK("6", "3:11")
		"S: * 1 FETCH (UID 3 RFC822.SIZE 100 " FIELDS " {8}\nS: A: b\nS: \nS: )\n"
		"S: * 2 FETCH (" FIELDS " {6}\nS- x)({9}\nS:  RFC822.SIZE 7 UID 4)\n"
		"S: * 3 FETCH (RFC822.SIZE 8 " FIELDS " \"a \\\\\"q\\\\\" \\\\\\\\\" UID 5)\n"
		"S: * 4 FETCH (UID 6 RFC822.SIZE 9 " FIELDS " NIL)\n"
		"S: * 5 FETCH (FLAGS (\\\\Seen $x (a (b))) UID 7 X-GM-MSGID 123 ENVELOPE (\"a)\" NIL {3}\n"
		"S: )() ((\"x\")) {2}\nS: hi) " FIELDS " {0}\nS:  RFC822.SIZE 10)\n"
		"S: 6 OK done\n" LOGOUT("7"),
		3, ST_OK, 0, "3 100 <A: b\r\n\r\n>;4 7 <x)({9}>;5 8 <a \"q\" \\>;6 9 <>;7 10 <>;" },
	{ "what was not asked for", OPEN("X", "9", "12") ASK("6", "5:11")
		"S: * 3 EXISTS\nS: * 1 FETCH (FLAGS (\\\\Seen))\nS: * 2 FETCH (FLAGS () UID 6)\n"
		"S: * 9 FETCH (UID 4 RFC822.SIZE 1 " FIELDS " \"\")\n"
		"S: * OK [X] hi\nS: * 0 FETCH (UID 12 RFC822.SIZE 1 " FIELDS " \"\")\n"
		"S: * ESEARCH (x {4}\nS: abc)) 5\n"
		"S: 6 OK done\n" LOGOUT("7"),
		5, ST_OK, 0, "" },
	{ "odd numbers", OPEN("X", "1", "12") ASK("6", "1:11")
		"S: * 1 FETCH (UID 1 RFC822.SIZE 9.37e+06 " FIELDS " \"a\")\n"
		"S: * 2 FETCH (UID 99999999999 RFC822.SIZE 1 " FIELDS " \"b\")\n"
		"S: * 3 FETCH (UID -3 RFC822.SIZE 1 " FIELDS " \"c\")\n"
		"S: 6 OK done\n" LOGOUT("7"),
		1, ST_OK, 0, "1 0 <a>;" },
	{ "cut short by the server", OPEN("X", "9", "12") ASK("6", "1:11")
		"S: * 1 FETCH (UID 11 RFC822.SIZE 1 " FIELDS " \"a\")\n"
		"S: 6 OK [MESSAGELIMIT 1 11] more to come\n" ASK("7", "1:10")
		"S: * 1 FETCH (UID 3 RFC822.SIZE 1 " FIELDS " \"b\")\n"
		"S: 7 OK done\n" LOGOUT("8"),
		1, ST_OK, 0, "11 1 <a>;3 1 <b>;" },
	{ "cut short, and it does not say where", OPEN("X", "9", "12") ASK("6", "1:11")
		"S: 6 OK [MESSAGELIMIT 1] more\n", 1, ST_RETRY, EX_PROTOCOL, "" },
	{ "cut short in silence", OPEN("X", "4", "12") ASK("6", "1:11")
		"S: * 1 FETCH (UID 2 RFC822.SIZE 1 " FIELDS " \"a\")\n"
		"S: * 2 FETCH (UID 3 RFC822.SIZE 1 " FIELDS " \"b\")\nS: 6 OK x\n" ASK("7", "4:11")
		"S: * 3 FETCH (UID 5 RFC822.SIZE 1 " FIELDS " \"c\")\n"
		"S: * 4 FETCH (UID 9 RFC822.SIZE 1 " FIELDS " \"d\")\nS: 7 OK x\n" ASK("8", "10:11")
		"S: 8 OK x\n" LOGOUT("9"),
		1, ST_OK, 0, "2 1 <a>;3 1 <b>;5 1 <c>;9 1 <d>;" },
	{ "windows", OPEN("MESSAGELIMIT=5", "9", "12") ASK("6", "1:5")
		"S: * 1 FETCH (UID 5 RFC822.SIZE 1 " FIELDS " \"a\")\nS: 6 OK done\n"
		ASK("7", "6:10") "S: 7 OK done\n" ASK("8", "11:11") "S: 8 OK done\n" LOGOUT("9"),
		1, ST_OK, 0, "5 1 <a>;" },
	{ "sparse UIDs", OPEN("X", "2", "4000000000") ASK("6", "1:5000") "S: 6 OK x\n"
		ASK("7", "5001:25000") "S: 7 OK x\n" ASK("8", "25001:105000") "S: 8 OK x\n"
		ASK("9", "105001:425000") "S: 9 OK x\n" ASK("10", "425001:1705000") "S: 10 OK x\n"
		ASK("11", "1705001:6825000") "S: 11 OK x\n" ASK("12", "6825001:27305000") "S: 12 OK x\n"
		ASK("13", "27305001:109225000") "S: 13 OK x\n" ASK("14", "109225001:436905000") "S: 14 OK x\n"
		ASK("15", "436905001:1747625000") "S: 15 OK x\n" ASK("16", "1747625001:3999999999")
		"S: 16 OK x\n" LOGOUT("17"), 1, ST_OK, 0, "" },
	{ "refused", OPEN("X", "9", "12") ASK("6", "1:11") "S: 6 NO no\n" LOGOUT("7"),
		1, ST_DENIED, EX_PROTOCOL, "" },
	{ "server fault", OPEN("X", "9", "12") ASK("6", "1:11") "S: 6 NO [UNAVAILABLE] x\n" LOGOUT("7"),
		1, ST_RETRY, EX_TEMPFAIL, "" },
	{ "bye", OPEN("X", "9", "12") ASK("6", "1:11") "S: * BYE x\n", 1, ST_RETRY, EX_TEMPFAIL, "" },
	{ "end in a literal", OPEN("X", "9", "12") ASK("6", "1:11")
		"S: * 1 FETCH (UID 3 " FIELDS " {8}\nS- abc\nEOF\n", 1, ST_RETRY, EX_TEMPFAIL, "" },
	{ "not a FETCH", OPEN("X", "9", "12") ASK("6", "1:11")
		"S: * 1 FETCH (UID 3 " FIELDS " \"a)\n", 1, ST_RETRY, EX_PROTOCOL, "" },
	{ "no end", OPEN("X", "9", "12") ASK("6", "1:11")
		"S: * 1 FETCH (UID 3 FLAGS (\n", 1, ST_RETRY, EX_PROTOCOL, "" },
	{ "too many ends", OPEN("X", "9", "12") ASK("6", "1:11")
		"S: * 1 FETCH (UID ))\n", 1, ST_RETRY, EX_PROTOCOL, "" },
	/* clang-format on */
};

static void open_inbox(struct rig *rig, const char *script, size_t step,
	const struct imap_mailbox **mb)
{
	struct imap_config cfg = rig_config();

	assert_int_equal(rig_open(rig, script, step, &cfg), ST_OK);
	assert_int_equal(imap_login(rig->imap, &rig->err), ST_OK);
	assert_int_equal(imap_folder(rig->imap, "", mb, &rig->err), ST_OK);
	assert_int_equal(imap_select(rig->imap, *mb, &rig->err), ST_OK);
}

static void test_scan(void **state)
{
	struct buf seen = BUF_INIT(1 << 20);
	const struct imap_mailbox *mb;
	enum status rc;
	struct rig rig;
	size_t k, step;

	(void)state;
	for (k = 0; k < N_ELEMENTS(rows); k++) {
		for (step = 0; step <= STEP_MAX; step++) {
			buf_clear(&seen);
			open_inbox(&rig, rows[k].script, step, &mb);
			rc = imap_scan(rig.imap, rows[k].first, note, &seen, &rig.err);
			rig_want(&rig, rows[k].name, step, rc, rows[k].status,
				rows[k].exit, NULL);
			if (strcmp(buf_str(&seen), rows[k].seen) != 0)
				fail_msg("%s, step %zu: saw %s", rows[k].name, step,
					buf_str(&seen));
			rig_close(&rig);
		}
	}
	buf_free(&seen);
}

static void count(void *ctx, const struct imap_seen *m)
{
	size_t *longest = ctx;

	if (m->header_n > *longest)
		*longest = m->header_n;
}

/* A header beyond all measure is cut, and the dialogue goes on. */
static void test_long_header(void **state)
{
	static const size_t size = 3 * 1024 * 1024;
	struct buf b = BUF_INIT(8 << 20);
	const struct imap_mailbox *mb;
	size_t k, longest = 0;
	struct rig rig;

	(void)state;
	buf_adds(&b, OPEN("X", "1", "12") ASK("6", "1:11"));
	buf_addf(&b, "S: * 1 FETCH (UID 3 " FIELDS " {%zu}\nS- ", size);
	for (k = 0; k < size; k++)
		buf_addc(&b, 'a');
	buf_adds(&b, "\nS: )\nS: 6 OK done\n" LOGOUT("7"));
	open_inbox(&rig, b.p, 0, &mb);
	assert_int_equal(imap_scan(rig.imap, 1, count, &longest, &rig.err), ST_OK);
	assert_int_equal(longest, 1024 * 1024);
	rig_close(&rig);
	buf_free(&b);
}

static const struct {
	const char *name, *script;
	enum status status;
	int exit;
	const char *body;
} fetches[] = {
	/* clang-format off */
	{ "literal", OPEN("X", "9", "12") "C: 6 UID FETCH 7 (UID BODY.PEEK[])\n"
		"S: * 5 FETCH (FLAGS (\\\\Seen))\n"
		"S: * 4 FETCH (BODY[] {9}\nS: A: b\nS: \nS:  UID 7 FLAGS (\\\\Seen))\nS: 6 OK x\n" LOGOUT("7"),
		ST_OK, 0, "A: b\r\n\r\n " },
	{ "quoted", OPEN("X", "9", "12") "C: 6 UID FETCH 7 (UID BODY.PEEK[])\n"
		"S: * 4 FETCH (UID 7 BODY[] \"a\\\\\"b\")\nS: 6 OK x\n" LOGOUT("7"),
		ST_OK, 0, "a\"b" },
	{ "gone", OPEN("X", "9", "12") "C: 6 UID FETCH 7 (UID BODY.PEEK[])\n"
		"S: 6 OK x\n" LOGOUT("7"), ST_SKIP, EX_DATAERR, "" },
	{ "NIL", OPEN("X", "9", "12") "C: 6 UID FETCH 7 (UID BODY.PEEK[])\n"
		"S: * 4 FETCH (UID 7 BODY[] NIL)\nS: 6 OK x\n" LOGOUT("7"),
		ST_SKIP, EX_DATAERR, "" },
	{ "refused", OPEN("X", "9", "12") "C: 6 UID FETCH 7 (UID BODY.PEEK[])\n"
		"S: 6 NO no\n" LOGOUT("7"), ST_SKIP, EX_DATAERR, "" },
	{ "another", OPEN("X", "9", "12") "C: 6 UID FETCH 7 (UID BODY.PEEK[])\n"
		"S: * 4 FETCH (UID 8 BODY[] \"ab\")\nS: 6 OK x\n", ST_RETRY, EX_PROTOCOL, "ab" },
	{ "cut", OPEN("X", "9", "12") "C: 6 UID FETCH 7 (UID BODY.PEEK[])\n"
		"S: * 4 FETCH (UID 7 BODY[] {99}\nS- ab\nEOF\n", ST_RETRY, EX_TEMPFAIL, "ab" },
	/* clang-format on */
};

static void keep(void *ctx, const char *p, size_t n)
{
	buf_add(ctx, p, n);
}

static void test_fetch(void **state)
{
	struct buf body = BUF_INIT(1 << 20);
	const struct imap_mailbox *mb;
	enum status rc;
	struct rig rig;
	size_t k, step;

	(void)state;
	for (k = 0; k < N_ELEMENTS(fetches); k++) {
		for (step = 0; step <= STEP_MAX; step++) {
			buf_clear(&body);
			open_inbox(&rig, fetches[k].script, step, &mb);
			rc = imap_fetch(rig.imap, 7, keep, &body, &rig.err);
			rig_want(&rig, fetches[k].name, step, rc, fetches[k].status,
				fetches[k].exit, NULL);
			assert_string_equal(buf_str(&body), fetches[k].body);
			rig_close(&rig);
		}
	}
	buf_free(&body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan),
		cmocka_unit_test(test_long_header),
		cmocka_unit_test(test_fetch),
	};

	log_setup(LOG_TEXT, LV_ERROR, 2);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
