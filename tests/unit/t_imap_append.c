/*
 * t_imap_append.c: APPEND and MULTIAPPEND: what goes out when, and what a
 * reply, or none, means for each message. Every script ends with all that
 * the client may send: a line more, and the row fails.
 */
#include "append_kit.h"

static const struct {
	const char *name, *script;
	size_t n;           /* messages */
	const char *flags;  /* of each: "-" none, "s" seen, "b" all four */
	const char *expect; /* of each: S stored, P pending, R refused */
	const char *uids;   /* of each, "" where none is wanted */
	enum status status;
	int exit;
	const char *text; /* part of the error, or of that of the refused message */
	bool refused;
	bool cautious, sync, single;
} rows[] = {
	/* clang-format off */
	{ "ahead once proven", START("LITERAL+") CANARY
		AHEAD("7", "1") AHEAD("8", "2")
		"S: * 2 EXISTS\nS: * 1 FETCH (X {4}\nS: a)\\r\\n)\n"
		"S: 7 OK [APPENDUID 77 13] done\nS: 8 OK [APPENDUID 77 14] done\n"
		LOGOUT("9"),
		3, "---", "SSS", "12 13 14", ST_OK, 0, NULL, false, false, false, false },
	{ "anything may come before +", START("LITERAL+") SYNCED("6")
		"S: * 5 EXISTS\nS: * OK [ALERT] hello\nS: * NO nearly full\n"
		"S: * 1 FETCH (BODY {3}\nS: + )x)\nS: +\n" BODY("0") "S: 6 OK done\n" LOGOUT("7"),
		1, "-", "S", "0", ST_OK, 0, NULL, false, false, false, false },
	{ "each form of flags is proven first", START("LITERAL+") CANARY
		"C: 7 APPEND \"INBOX\" (\\\\Seen) {19}\nSYNC\nS: +\n" BODY("1") "S: 7 OK done\n"
		"C: 8 APPEND \"INBOX\" (\\\\Seen \\\\Answered \\\\Flagged \\\\Draft) {19}\nSYNC\n"
		"S: +\n" BODY("2") "S: 8 OK done\n"
		"C: 9 APPEND \"INBOX\" (\\\\Seen) {19+}\n" BODY("3") "S: 9 OK done\n"
		LOGOUT("10"),
		4, "-sbs", "SSSS", "12", ST_OK, 0, NULL, false, false, false, false },
	{ "refused in place of +", START("LITERAL+") SYNCED("6")
		"S: 6 NO [TOOBIG] no\nC: 7 NOOP\nS: 7 OK\n"
		SYNCED("8") "S: +\n" BODY("1") "S: 8 OK done\n" LOGOUT("9"),
		2, "--", "RS", "0 0", ST_OK, 0, "[TOOBIG] no", false, false, false, false },
	{ "refused in place of +, and out of step", START("LITERAL+") SYNCED("6")
		"S: 6 NO Zero-length message literal\nC: 7 NOOP\nS: * BAD Invalid tag\n",
		2, "--", "RP", "0 0", ST_RETRY, EX_PROTOCOL, NULL, false, false, false, false },
	{ "untagged BAD in place of +", START("LITERAL+") SYNCED("6")
		"S: * BAD command line limit exceeded\n",
		2, "--", "RP", "0 0", ST_RETRY, EX_PROTOCOL, "limit exceeded", false, false, false, false },
	{ "bye in place of +", START("LITERAL+") SYNCED("6") "S: * BYE over\nEOF\n",
		1, "-", "P", "0", ST_RETRY, EX_TEMPFAIL, "server said: over", false, false, false, false },
	{ "silence in place of +", START("LITERAL+") SYNCED("6"),
		1, "-", "P", "0", ST_RETRY, EX_TEMPFAIL, NULL, false, false, false, false },
	{ "throttled in place of +", START("LITERAL+") SYNCED("6")
		"S: 6 BAD Request is throttled. Suggested Backoff Time: 5000 milliseconds\n",
		1, "-", "P", "0", ST_RETRY, EX_TEMPFAIL, "throttled", false, false, false, false },
	{ "flags refused before the text", START("LITERAL+")
		"C: 6 APPEND \"INBOX\" (\\\\Seen) {19}\nSYNC\nS: 6 BAD what\n"
		"C: 7 NOOP\nS: 7 OK\nC: 8 APPEND \"INBOX\" () {19}\nSYNC\nS: +\n" BODY("0")
		"S: 8 OK done\n" AHEAD("9", "1") "S: 9 OK done\n" LOGOUT("10"),
		2, "ss", "SS", "0 0", ST_OK, 0, NULL, false, false, false, false },
	{ "flags refused after the text", START("LITERAL+")
		"C: 6 APPEND \"INBOX\" (\\\\Seen) {19}\nSYNC\nS: +\n" BODY("0") "S: 6 NO Invalid flag\n"
		"C: 7 APPEND \"INBOX\" () {19}\nSYNC\nS: +\n" BODY("0")
		"S: 7 OK done\n" LOGOUT("8"),
		1, "s", "S", "0", ST_OK, 0, NULL, false, false, false, false },
	{ "flags are not to blame", START("LITERAL+")
		"C: 6 APPEND \"INBOX\" (\\\\Seen) {19}\nSYNC\nS: +\n" BODY("0") "S: 6 NO failed\n"
		"C: 7 APPEND \"INBOX\" () {19}\nSYNC\nS: +\n" BODY("0")
		"S: 7 NO failed again\n"
		"C: 8 APPEND \"INBOX\" (\\\\Seen) {19}\nSYNC\nS: +\n" BODY("1") "S: 8 OK done\n"
		LOGOUT("9"),
		2, "ss", "RS", "0 0", ST_OK, 0, "said: failed)", false, false, false, false },
	{ "flags cannot be to blame", START("LITERAL+")
		"C: 6 APPEND \"INBOX\" (\\\\Seen) {19}\nSYNC\nS: +\n" BODY("0") "S: 6 NO virus\n"
		"C: 7 APPEND \"INBOX\" (\\\\Seen) {19}\nSYNC\nS: +\n" BODY("1") "S: 7 OK done\n"
		LOGOUT("8"),
		2, "ss", "RS", "0 0", ST_OK, 0, "virus", false, false, false, false },
	{ "NO after a synchronising literal", START("LITERAL+") SYNCED("6") "S: +\n" BODY("0")
		"S: 6 NO Message contains invalid header\n"
		SYNCED("7") "S: +\n" BODY("1") "S: 7 OK done\n" LOGOUT("8"),
		2, "--", "RS", "0 0", ST_OK, 0, "invalid header", false, false, false, false },
	{ "BAD after a synchronising literal", START("LITERAL+") SYNCED("6") "S: +\n" BODY("0")
		"S: 6 BAD maximum message size exceeded\nC: 7 NOOP\nS: 7 OK\n"
		SYNCED("8") "S: +\n" BODY("1") "S: 8 OK done\n" LOGOUT("9"),
		2, "--", "RS", "0 0", ST_OK, 0, "maximum message", false, false, false, false },
	{ "BAD after a synchronising literal, and out of step", START("LITERAL+") SYNCED("6")
		"S: +\n" BODY("0") "S: 6 BAD what\nC: 7 NOOP\nS: x OK Expunged\n",
		2, "--", "RP", "0 0", ST_RETRY, EX_PROTOCOL, NULL, false, false, false, false },
	{ "BAD to the first of two", START("X") CANARY
		SYNCED("7") "S: +\n" BODY("1")
		"C: 8 APPEND \"INBOX\" () {19}\nSYNC\nS: 7 BAD what\n",
		3, "---", "SRP", "12 0 0", ST_RETRY, EX_PROTOCOL, NULL, false, false, false, false },
	{ "NO to what went ahead", START("LITERAL+") CANARY
		AHEAD("7", "1") AHEAD("8", "2") AHEAD("9", "3")
		"S: 7 OK done\nS: 8 NO [LIMIT] Mail size is larger than allowed\nS: 9 OK done\n",
		4, "----", "SSRP", "12 0 0 0", ST_RETRY, EX_TEMPFAIL, "larger", false, false, false, false },
	{ "BAD to what went ahead", START("LITERAL+") CANARY
		AHEAD("7", "1") AHEAD("8", "2")
		"S: 7 BAD Invalid arguments\nS: x OK Expunged\n",
		3, "---", "SPP", "12 0 0", ST_RETRY, EX_PROTOCOL, "Invalid arg", true, false, false, false },
	{ "untagged BAD to what went ahead", START("LITERAL+") CANARY
		AHEAD("7", "1") "S: * BAD limit\n",
		2, "--", "SP", "12 0", ST_RETRY, EX_PROTOCOL, NULL, true, false, false, false },
	{ "server fault: in doubt", START("LITERAL+") CANARY
		AHEAD("7", "1") "S: 7 NO [SERVERBUG] timeout\n",
		2, "--", "SP", "12 0", ST_RETRY, EX_TEMPFAIL, "SERVERBUG", false, false, false, false },
	{ "server fault, synchronous: in doubt", START("LITERAL+") SYNCED("6") "S: +\n" BODY("0")
		"S: 6 NO Server Unavailable. 15\n",
		1, "-", "P", "0", ST_RETRY, EX_TEMPFAIL, "Unavailable", false, false, false, false },
	{ "quota", START("LITERAL+") CANARY
		AHEAD("7", "1") "S: 7 NO [OVERQUOTA] full\n",
		2, "--", "SP", "12 0", ST_DENIED, EX_CANTCREAT, "[OVERQUOTA] full", false, false, false, false },
	{ "bandwidth is not quota", START("LITERAL+") CANARY
		AHEAD("7", "1") "S: 7 NO [OVERQUOTA] Account exceeded command or bandwidth limits\n",
		2, "--", "SP", "12 0", ST_RETRY, EX_TEMPFAIL, "bandwidth", false, false, false, false },
	{ "the mailbox went away", START("LITERAL+") CANARY
		AHEAD("7", "1") "S: 7 NO [TRYCREATE] gone\n",
		2, "--", "SP", "12 0", ST_RETRY, EX_TEMPFAIL, "gone", false, false, false, false },
	{ "the OK is lost", START("LITERAL+") CANARY AHEAD("7", "1") AHEAD("8", "2")
		"S: 7 OK done\nEOF\n",
		3, "---", "SSP", "12 0 0", ST_RETRY, EX_TEMPFAIL, NULL, false, false, false, false },
	{ "bye in the window", START("LITERAL+") CANARY AHEAD("7", "1") AHEAD("8", "2")
		"S: 7 OK done\nS: * BYE Session expired\nEOF\n",
		3, "---", "SSP", "12 0 0", ST_RETRY, EX_TEMPFAIL, "Session expired", false, false, false, false },
	{ "a + nobody waits for", START("LITERAL+") CANARY AHEAD("7", "1") "S: + go\n",
		2, "--", "SP", "12 0", ST_RETRY, EX_PROTOCOL, NULL, false, false, false, false },
	{ "replies in the wrong order", START("LITERAL+") CANARY
		AHEAD("7", "1") AHEAD("8", "2") "S: 8 OK done\n",
		3, "---", "SPP", "12 0 0", ST_RETRY, EX_PROTOCOL, NULL, false, false, false, false },
	{ "OK before the text", START("LITERAL+") SYNCED("6") "S: 6 OK done\n",
		1, "-", "P", "0", ST_RETRY, EX_PROTOCOL, NULL, false, false, false, false },
	{ "throttled: one at a time from then on", START("LITERAL+") SYNCED("6")
		"S: +\n" BODY("0") "S: 6 OK Success [THROTTLED]\n"
		SYNCED("7") "S: +\n" BODY("1") "S: 7 OK done\n" LOGOUT("8"),
		2, "--", "SS", "0 0", ST_OK, 0, NULL, false, false, false, false },
	{ "LITERAL-", START("LITERAL-") CANARY AHEAD("7", "1") AHEAD("8", "2")
		"S: 7 OK done\nS: 8 OK done\n" LOGOUT("9"),
		3, "---", "SSS", "12 0 0", ST_OK, 0, NULL, false, false, false, false },
	{ "neither: the next line goes behind the text", START("X") CANARY
		SYNCED("7") "S: +\n" BODY("1")
		"C: 8 APPEND \"INBOX\" () {19}\nSYNC\n"
		"S: 7 NO virus\nS: +\n" BODY("2") "S: 8 OK done\n" LOGOUT("9"),
		3, "---", "SRS", "12 0 0", ST_OK, 0, "virus", false, false, false, false },
	{ "+ for the next before the reply to the last", START("X") CANARY
		SYNCED("7") "S: +\n" BODY("1")
		"C: 8 APPEND \"INBOX\" () {19}\nSYNC\nS: +\n",
		3, "---", "SPP", "12 0 0", ST_RETRY, EX_PROTOCOL, NULL, false, false, false, false },
	{ "synchronous when asked", START("LITERAL+ MULTIAPPEND") CANARY
		SYNCED("7") "S: +\n" BODY("1") "SYNC\nS: 7 OK done\n"
		SYNCED("8") "S: +\n" BODY("2") "SYNC\nS: 8 OK done\n" LOGOUT("9"),
		3, "---", "SSS", "12 0 0", ST_OK, 0, NULL, false, false, true, false },
	{ "cautious", START("LITERAL+ MULTIAPPEND") CANARY
		SYNCED("7") "S: +\n" BODY("1") "SYNC\nS: 7 NO virus\n"
		SYNCED("8") "S: +\n" BODY("2") "SYNC\nS: 8 OK done\n" LOGOUT("9"),
		3, "---", "SRS", "12 0 0", ST_OK, 0, "virus", false, true, false, false },
	{ "MULTIAPPEND", START("LITERAL+ MULTIAPPEND") CANARY
		"C: 7 APPEND \"INBOX\" () {19+}\n" PART("1") "C:  () {19+}\n" PART("2")
		"C:  () {19+}\n" BODY("3") "S: 7 OK [APPENDUID 77 13:14,19] done\n" LOGOUT("8"),
		4, "----", "SSSS", "12 13 14 19", ST_OK, 0, NULL, false, false, false, false },
	{ "MULTIAPPEND, receipts that do not fit", START("LITERAL+ MULTIAPPEND") CANARY
		"C: 7 APPEND \"INBOX\" () {19+}\n" PART("1") "C:  () {19+}\n" BODY("2")
		"S: 7 OK [APPENDUID 77 13:15] done\n" LOGOUT("8"),
		3, "---", "SSS", "12 0 0", ST_OK, 0, NULL, false, false, false, false },
	{ "MULTIAPPEND, too few receipts", START("LITERAL+ MULTIAPPEND") CANARY
		"C: 7 APPEND \"INBOX\" () {19+}\n" PART("1") "C:  () {19+}\n" BODY("2")
		"S: 7 OK [APPENDUID 77 13] done\n" LOGOUT("8"),
		3, "---", "SSS", "12 0 0", ST_OK, 0, NULL, false, false, false, false },
	{ "MULTIAPPEND, receipts of nonsense", START("LITERAL+ MULTIAPPEND") CANARY
		"C: 7 APPEND \"INBOX\" () {19+}\n" PART("1") "C:  () {19+}\n" BODY("2")
		"S: 7 OK [APPENDUID 0 13:14] done\n" LOGOUT("8"),
		3, "---", "SSS", "12 0 0", ST_OK, 0, NULL, false, false, false, false },
	{ "MULTIAPPEND refused", START("LITERAL+ MULTIAPPEND") CANARY
		"C: 7 APPEND \"INBOX\" () {19+}\n" PART("1") "C:  () {19+}\n" BODY("2")
		"S: 7 NO virus\n",
		3, "---", "SPP", "12 0 0", ST_RETRY, EX_TEMPFAIL, "virus", true, false, false, false },
	{ "MULTIAPPEND of one is an APPEND", START("LITERAL+ MULTIAPPEND") CANARY
		AHEAD("7", "1") "S: 7 NO virus\n",
		2, "--", "SR", "12 0", ST_RETRY, EX_TEMPFAIL, "virus", false, false, false, false },
	{ "MULTIAPPEND and a new form", START("LITERAL+ MULTIAPPEND") CANARY
		"C: 7 APPEND \"INBOX\" () {19+}\n" BODY("1")
		"C: 8 APPEND \"INBOX\" (\\\\Seen) {19}\nSYNC\nS: 7 OK done\nS: +\n" BODY("2")
		"S: 8 OK done\n"
		"C: 9 APPEND \"INBOX\" () {19+}\n" BODY("3") "S: 9 OK done\n" LOGOUT("10"),
		4, "--s-", "SSSS", "12 0 0 0", ST_OK, 0, NULL, false, false, false, false },
	{ "MULTIAPPEND not wanted", START("LITERAL+ MULTIAPPEND") CANARY
		AHEAD("7", "1") AHEAD("8", "2") "S: 7 OK done\nS: 8 OK done\n" LOGOUT("9"),
		3, "---", "SSS", "12 0 0", ST_OK, 0, NULL, false, false, false, true },
	/* clang-format on */
};

static void run_row(size_t row, size_t step, struct mails *ms)
{
	static const char letters[] = "PSR";
	struct imap_append a[NMAX] = { 0 };
	struct imap_config cfg = rig_config();
	const struct imap_mailbox *mb;
	unsigned long uid;
	const char *want = NULL;
	char *next = (char *)rows[row].uids;
	enum status rc;
	struct rig rig;
	uint64_t out;
	size_t k;

	cfg.cautious = rows[row].cautious;
	cfg.literal = rows[row].sync ? IMAP_LITERAL_SYNC : IMAP_LITERAL_AUTO;
	cfg.multiappend = !rows[row].single;
	open_inbox(&rig, rows[row].script, step, &cfg, &mb);
	for (k = 0; k < rows[row].n; k++) {
		a[k].message = ms->m[k];
		a[k].mailbox = mb;
		a[k].seen = rows[row].flags[k] != '-';
		a[k].answered = a[k].flagged = a[k].draft = rows[row].flags[k] == 'b';
	}
	rc = put_all(&rig, a, rows[row].n);
	for (k = 0; k < rows[row].n; k++) {
		if (letters[a[k].outcome] != rows[row].expect[k])
			fail_msg("%s, step %zu: message %zu is %c: %s", rows[row].name,
				step, k, letters[a[k].outcome], rig.err.text);
		uid = strtoul(next, &next, 10);
		assert_int_equal(a[k].uid, uid);
		assert_int_equal(a[k].uidvalidity, uid ? 77 : 0);
		if (a[k].outcome == IMAP_REFUSED) {
			assert_int_equal(a[k].err->status, ST_SKIP);
			want = a[k].err->text;
		}
	}
	if (want && rows[row].text && !strstr(want, rows[row].text))
		fail_msg("%s: %s", rows[row].name, want);
	rig_want(&rig, rows[row].name, step, rc, rows[row].status, rows[row].exit,
		want ? NULL : rows[row].text);
	if (imap_refused(rig.imap) != rows[row].refused)
		fail_msg("%s: refused is wrong", rows[row].name);
	if (rc != ST_OK) {
		out = imap_counts(rig.imap).out;
		if (imap_append(rig.imap, &a[rows[row].n - 1], &rig.err) == ST_OK ||
			imap_finish(rig.imap, &rig.err) == ST_OK ||
			out != imap_counts(rig.imap).out)
			fail_msg("%s: goes on", rows[row].name);
	}
	rig_close(&rig);
	spent(a, NMAX);
}

static void test_append(void **state)
{
	struct mails ms;
	size_t k, step;

	(void)state;
	add_bodies(&ms);
	for (k = 0; k < N_ELEMENTS(rows); k++)
		for (step = 0; step <= STEP_MAX; step += 1 + step / 8)
			run_row(k, step, &ms);
	mails_close(&ms);
}

static void test_dates(void **state)
{
	static const struct {
		struct when date;
		const char *text;
	} dates[] = {
		{ { true, 1704448800, 60 }, " \" 5-Jan-2024 11:00:00 +0100\"" },
		{ { true, 1704448800, -300 }, " \" 5-Jan-2024 05:00:00 -0500\"" },
		{ { true, 1704448800, 1439 }, " \" 5-Jan-2024 10:00:00 +0000\"" },
		{ { true, 1704448800, 61 }, " \" 5-Jan-2024 10:00:00 +0000\"" },
		{ { false, 1704448800, 0 }, "" },
		{ { true, 0, 0 }, "" },
		{ { true, 4000000000, 0 }, "" },
	};
	struct imap_config cfg = rig_config();
	struct imap_append a;
	char text[4096];
	struct mails ms;
	struct rig rig;
	size_t k;

	(void)state;
	add_bodies(&ms);
	for (k = 0; k < N_ELEMENTS(dates); k++) {
		snprintf(text, sizeof(text),
			"%sC: 6 APPEND \"INBOX\" ()%s {19}\nSYNC\nS: +\n%sS: 6 OK done\n%s",
			START("X"), dates[k].text, BODY("0"), LOGOUT("7"));
		open_for_one(&rig, text, &cfg, &ms, &a);
		a.date = dates[k].date;
		assert_int_equal(put_all(&rig, &a, 1), ST_OK);
		assert_int_equal(a.outcome, IMAP_STORED);
		spent(&a, 1);
		rig_close(&rig);
	}
	mails_close(&ms);
}

/* Bytes unanswered stay within the window, and batches are cut by bytes. */
static void test_window(void **state)
{
	struct imap_config cfg = rig_config();
	const struct imap_mailbox *mb;
	struct imap_append a[NMAX] = { 0 };
	struct mails ms;
	struct rig rig;
	size_t k, round;

	(void)state;
	add_bodies(&ms);
	for (round = 0; round < 2; round++) {
		cfg.window_bytes = round ? 60 : 40;
		cfg.batch_bytes = 40;
		open_inbox(&rig,
			round ? START("LITERAL+ MULTIAPPEND") CANARY
				"C: 7 APPEND \"INBOX\" () {19+}\n" PART(
					"1") "C:  () {19+}\n" BODY("2") AHEAD("8",
					"3") "SYNC\nS: 7 OK x\nS: 8 OK x\n" LOGOUT("9")
			      : START("LITERAL+") CANARY AHEAD("7", "1") AHEAD("8",
					"2") "SYNC\nS: 7 OK x\nSYNC\nS: 8 OK x\n" AHEAD("9",
					"3") "S: 9 OK x\n" LOGOUT("10"),
			round ? 0 : 9, &cfg, &mb);
		for (k = 0; k < NMAX; k++) {
			a[k].message = ms.m[k];
			a[k].mailbox = mb;
		}
		rig_want(&rig, "window", round, put_all(&rig, a, NMAX), ST_OK, 0, NULL);
		for (k = 0; k < NMAX; k++)
			assert_int_equal(a[k].outcome, IMAP_STORED);
		spent(a, N_ELEMENTS(a));
		rig_close(&rig);
	}
	mails_close(&ms);
}

/*
 * A large text that is refused at its first line: what follows in the
 * connection is cut, and no later command goes out.
 */
static void test_cut_short(void **state)
{
	static const size_t size = 4 * 1024 * 1024;
	struct imap_config cfg = rig_config();
	const struct imap_mailbox *mb;
	struct imap_append a[2] = { 0 };
	char *text = xmalloc(size);
	struct mails ms;
	struct rig rig;
	size_t k;

	(void)state;
	for (k = 0; k < size; k++)
		text[k] = "x EXPLODE\r\n"[k % 11];
	add_bodies(&ms);
	mails_add(&ms, text, size);
	open_inbox(&rig,
		START("LITERAL+") CANARY
		"C~ 7 APPEND \"INBOX\" () {4194305+}\nS: 7 BAD no\nEOF\n",
		4096, &cfg, &mb);
	a[0].message = ms.m[0];
	a[1].message = ms.m[NMAX];
	a[0].mailbox = a[1].mailbox = mb;
	/* 4 MiB do not end in CRLF, so that a byte or two are added. */
	assert_int_equal(ms.m[NMAX]->facts.wire % 4194304 <= 2, 1);
	imap_append(rig.imap, &a[0], &rig.err);
	assert_int_equal(imap_append(rig.imap, &a[1], &rig.err), ST_RETRY);
	assert_int_equal(a[1].outcome, IMAP_PENDING);
	assert_true(imap_counts(rig.imap).out < size / 2);
	imap_close(&rig.imap);
	script_close(&rig.script);
	mails_close(&ms);
	free(text);
}

/* A text that cannot be read to its end: the server sees a broken literal. */
static void test_short_body(void **state)
{
	struct imap_config cfg = rig_config();
	const struct imap_mailbox *mb;
	struct imap_append a = { 0 };
	struct mails ms;
	struct rig rig;

	(void)state;
	add_bodies(&ms);
	ms.m[0]->facts.wire += 5;
	open_inbox(&rig, START("X") "C: 6 APPEND \"INBOX\" () {24}\nSYNC\nS: +\n", 0,
		&cfg, &mb);
	a.message = ms.m[0];
	a.mailbox = mb;
	assert_int_equal(imap_append(rig.imap, &a, &rig.err), ST_FATAL);
	assert_int_equal(a.outcome, IMAP_PENDING);
	spent(&a, 1);
	rig_close(&rig);
	mails_close(&ms);
}

/* Mail that could be commands waits for "+", though the form is proven (quirk Q75). */
static void test_commands(void **state)
{
	static const struct {
		const char *line;
		bool waits;
	} lines[] = {
		{ "x EXPUNGE", true },
		{ "x expunge ", true },
		{ " x\tClose", true },
		{ "q3 STORE 1:* +FLAGS (\\Deleted)", true },
		{ "q3 COPY $ INBOX", true },
		{ "q3 MOVE * Trash", true },
		{ "q3 UID STORE 1 FLAGS ()", true },
		{ "q3 uid expunge 1", true },
		{ "q3 CREATE pwned", true },
		{ "q3 DELETE \"two words\"", true },
		{ "q3 RENAME INBOX {4+}", true },
		{ "q3 SETACL INBOX mallory lrswi", true },
		{ "q3 APPEND INBOX {500}", true },
		{ "q3 \t deleteacl INBOX me", true },
		{ "q3 replace 4 INBOX {500}", true },
		{ "q3 copy 1 \"a b\"", true },
		{ "q3 rename a b", true },
		{ "\"a tag\" CLOSE", true },
		{ "a\"b c\"d CLOSE", true },
		{ "\t \"\" CLOSE", true },
		{ "a-tag-of-more-bytes-than-a-word-has-in-a-text CLOSE", true },
		{ "EXPUNGE", false },
		{ "x \"CLOSE\"", false },
		{ "x EXPUNGED", false },
		{ "x EXPUNGE it", false },
		{ "to store what we have", false },
		{ "you can delete it all", false },
		{ "to move on", false },
		{ "a uid is", false },
		{ "then rename it", false },
		{ "we append that", false },
	};
	struct imap_config cfg = rig_config();
	const struct imap_mailbox *mb;
	size_t k;

	(void)state;
	for (k = 0; k < N_ELEMENTS(lines); k++) {
		struct imap_append a[2] = { 0 };
		char text[128], script[2048];
		struct mails ms;
		struct rig rig;
		int n;

		add_bodies(&ms);
		n = snprintf(text, sizeof(text), "S: 1\r\n\r\nhello\r\n%s\r\nbye\r\n",
			lines[k].line);
		mails_add(&ms, text, (size_t)n);
		if (lines[k].waits)
			snprintf(script, sizeof(script),
				START("LITERAL+") CANARY
				"C: 7 APPEND \"INBOX\" () {%d}\nSYNC\nS: 7 NO no\n"
				"C: 8 NOOP\nS: 8 OK\n" LOGOUT("9"),
				n);
		else
			snprintf(script, sizeof(script),
				START("LITERAL+") CANARY
				"C: 7 APPEND \"INBOX\" () {%d+}\n"
				"C: S: 1\\r\\n\\r\\nhello\\r\\n%s\\r\\nbye\\r\\n\n"
				"S: 7 NO no\n",
				n, lines[k].line);
		open_inbox(&rig, script, 0, &cfg, &mb);
		a[0].message = ms.m[0];
		a[1].message = ms.m[NMAX];
		a[0].mailbox = a[1].mailbox = mb;
		put_all(&rig, a, 2);
		if (a[1].outcome != IMAP_REFUSED)
			fail_msg("%s", lines[k].line);
		spent(a, N_ELEMENTS(a));
		rig_close(&rig);
		mails_close(&ms);
	}
}

/* The same wherever it stands in mail that is looked through in pieces. */
static void test_commands_in_pieces(void **state)
{
	enum { PIECES = 32 * 1024, LEN = 3 * PIECES };
	static const char harmless[] = "\nwhat is not a command\n",
			  bad[] = "\nx EXPUNGE\n";
	struct imap_config cfg = rig_config();
	const struct imap_mailbox *mb;
	char *text = xmalloc(LEN);
	size_t off, k;

	(void)state;
	for (off = 0; off < sizeof(bad); off++) {
		struct imap_append a[2] = { 0 };
		char script[2048];
		struct mails ms;
		struct rig rig;

		/* With bare LFs, so that it is converted on its way. */
		memset(text, 'x', LEN);
		memcpy(text, "S: 1\n\n", 6);
		for (k = 70; k < LEN; k += 70)
			text[k] = '\n';
		memcpy(text + PIECES - off, harmless, sizeof(harmless) - 1);
		memcpy(text + 2 * PIECES - off, bad, sizeof(bad) - 1);
		add_bodies(&ms);
		mails_add(&ms, text, LEN);
		snprintf(script, sizeof(script),
			START("LITERAL+") CANARY
			"C: 7 APPEND \"INBOX\" () {%d}\nSYNC\nS: 7 NO no\n"
			"C: 8 NOOP\nS: 8 OK\n" LOGOUT("9"),
			(int)ms.m[NMAX]->facts.wire);
		open_inbox(&rig, script, 0, &cfg, &mb);
		a[0].message = ms.m[0];
		a[1].message = ms.m[NMAX];
		a[0].mailbox = a[1].mailbox = mb;
		put_all(&rig, a, 2);
		if (a[1].outcome != IMAP_REFUSED)
			fail_msg("cut %zu bytes into it", off);
		spent(a, N_ELEMENTS(a));
		rig_close(&rig);
		mails_close(&ms);
	}
	free(text);
}

/* In by a login with all behind it, at what calls itself Dovecot; elsewhere in turn. */
#define HELLO(ready) \
	"S: * OK [CAPABILITY IMAP4rev1 SASL-IR ID LITERAL+ AUTH=PLAIN] " ready "\n" \
	"C: 1 AUTHENTICATE PLAIN AGFubgBwdw==\n"
#define ASKED \
	"C: 2 ID (\"name\" \"popferry\" \"version\" \"" VERSION "\")\n" \
	"C: 3 NAMESPACE\n"
#define IN "S: 1 OK [CAPABILITY IMAP4rev1 ID LITERAL+ NAMESPACE] in\n"
#define TOLD(id) \
	id "S: 2 OK done\n" \
	   "S: * NAMESPACE ((\"\" \".\")) NIL NIL\nS: 3 OK done\n" SELECT( \
		   "4", "INBOX", "0", "12")
#define IN_ALL(ready, id) HELLO(ready) ASKED IN TOLD(id)
#define IN_TURN(ready, id) HELLO(ready) IN ASKED TOLD(id)

#define BY_ID "S: * ID (\"name\" \"Dovecot\")\n"

/* Of Dovecot it is known that no date, no flag and no size of ours is refused before
 * the text: where what answers after the login is it, too, nothing waits for "+". */
static void test_dovecot(void **state)
{
	enum { LARGE = 2 * 1024 * 1024 };
	static const struct {
		const char *name, *script;
		bool large;
		const char *expect;
	} cases[] = {
		{ "by greeting and ID",
			IN_ALL("Dovecot ready.", BY_ID) AHEAD("5", "0") AHEAD("6",
				"1") "S: 5 OK [APPENDUID 77 12] done\nS: 6 OK done\n" LOGOUT("7"),
			false, "SS" },
		{ "and what it takes ahead may be large",
			IN_ALL("Dovecot ready.", BY_ID) AHEAD("5",
				"0") "C~ 6 APPEND \"INBOX\" () {2097152+}\nS: 6 BAD no\nEOF\n",
			true, "PP" },
		{ "by the greeting alone",
			IN_ALL("Dovecot ready.", "S: * ID NIL\n")
				SYNCED("5") "S: +\n" BODY("0") AHEAD("6",
					"1") "S: 5 OK done\nS: 6 OK done\n" LOGOUT("7"),
			false, "SS" },
		{ "something else behind it",
			IN_ALL("Dovecot ready.", "S: * ID (\"name\" \"Xy\")\n")
				SYNCED("5") "S: +\n" BODY("0") AHEAD("6",
					"1") "S: 5 OK done\nS: 6 OK done\n" LOGOUT("7"),
			false, "SS" },
		{ "something before it",
			IN_TURN("Proxy ready.", BY_ID) SYNCED("5") "S: +\n" BODY(
				"0") "S: 5 OK done\n"
				     "C: 6 APPEND \"INBOX\" () {2097152}\nSYNC\nS: 6 NO no\n"
				     "C: 7 NOOP\nS: 7 OK\n" LOGOUT("8"),
			true, "SR" },
		{ "refused all the same",
			IN_ALL("Dovecot ready.", BY_ID) AHEAD("5", "0")
				AHEAD("6", "1") "S: 5 BAD Invalid arguments\n",
			false, "PP" },
	};
	struct imap_config cfg = rig_config();
	const struct imap_mailbox *mb;
	char *text = xmalloc(LARGE);
	struct mails ms;
	struct rig rig;
	size_t c, k;

	(void)state;
	memset(text, 'x', LARGE);
	memcpy(text, "S: 9\r\n\r\n", 8);
	memcpy(text + LARGE - 2, "\r\n", 2);
	for (k = 100; k + 100 < LARGE; k += 100)
		memcpy(text + k, "\r\n", 2);
	add_bodies(&ms);
	mails_add(&ms, text, LARGE);
	for (c = 0; c < N_ELEMENTS(cases); c++) {
		struct imap_append a[2] = { 0 };

		open_inbox(&rig, cases[c].script, cases[c].large ? 4096 : 0, &cfg, &mb);
		a[0].message = ms.m[0];
		a[1].message = ms.m[cases[c].large ? NMAX : 1];
		a[0].mailbox = a[1].mailbox = mb;
		put_all(&rig, a, 2);
		for (k = 0; k < 2; k++)
			if (a[k].outcome !=
				(cases[c].expect[k] == 'S' ? IMAP_STORED
						: cases[c].expect[k] == 'R'
						? IMAP_REFUSED
						: IMAP_PENDING))
				fail_msg("%s: message %zu", cases[c].name, k);
		/* What was sent ahead of its reply. */
		assert_int_equal(imap_refused(rig.imap), !strchr(cases[c].expect, 'S'));
		if (strchr(cases[c].expect, 'S'))
			rig_want(&rig, cases[c].name, 0, ST_OK, ST_OK, 0, NULL);
		spent(a, N_ELEMENTS(a));
		if (cases[c].large) {
			imap_close(&rig.imap);
			script_close(&rig.script);
		} else {
			rig_close(&rig);
		}
	}
	mails_close(&ms);
	free(text);
}

/* The text of what was announced goes with the next call; and where none comes nothing
 * else is sent in its place. */
static void test_by_turns(void **state)
{
	static const char *const scripts[] = {
		START("X") SYNCED("6") "S: +\n" BODY("0")
			SYNCED("7") "S: 6 OK done\nS: +\n" BODY(
				"1") "S: 7 OK done\n" LOGOUT("8"),
		START("X") SYNCED("6"),
	};
	struct imap_config cfg = rig_config();
	const struct imap_mailbox *mb;
	struct mails ms;
	struct rig rig;
	size_t c, k;

	(void)state;
	cfg.by_turns = true;
	add_bodies(&ms);
	for (c = 0; c < N_ELEMENTS(scripts); c++) {
		struct imap_append a[2] = { 0 };

		open_inbox(&rig, scripts[c], 0, &cfg, &mb);
		for (k = 0; k < 2 - c; k++) {
			a[k].message = ms.m[k];
			a[k].mailbox = mb;
			assert_int_equal(imap_append(rig.imap, &a[k], &rig.err), ST_OK);
			assert_int_equal(a[k].outcome, IMAP_PENDING);
		}
		if (c == 0) {
			assert_int_equal(imap_finish(rig.imap, &rig.err), ST_OK);
			assert_int_equal(a[0].outcome, IMAP_STORED);
			assert_int_equal(a[1].outcome, IMAP_STORED);
		}
		spent(a, N_ELEMENTS(a));
		rig_close(&rig);
	}
	mails_close(&ms);
}

/* Mail is not in the trace; commands and replies are. */
static void test_trace(void **state)
{
	char path[] = "/tmp/t_imap_XXXXXX", text[16384];
	struct imap_config cfg = rig_config();
	struct imap_append a[2] = { 0 };
	const struct imap_mailbox *mb;
	struct trace *trace = NULL;
	struct mails ms;
	struct rig rig;
	size_t n;
	FILE *f;

	(void)state;
	add_bodies(&ms);
	close(mkstemp(path));
	assert_int_equal(trace_open(&trace, path, NULL), ST_OK);
	cfg.net.trace = trace;
	open_inbox(&rig,
		START("LITERAL+") CANARY AHEAD("7", "1") "S: 7 OK fine\n" LOGOUT("8"),
		0, &cfg, &mb);
	a[0].message = ms.m[0];
	a[1].message = ms.m[1];
	a[0].mailbox = a[1].mailbox = mb;
	assert_int_equal(put_all(&rig, a, 2), ST_OK);
	spent(a, N_ELEMENTS(a));
	rig_close(&rig);
	trace_close(&trace);
	f = fopen(path, "r");
	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	fclose(f);
	unlink(path);
	assert_non_null(strstr(text, "7 APPEND \"INBOX\" () {19+}"));
	assert_non_null(strstr(text, "7 OK fine"));
	assert_null(strstr(text, "EXPLODE"));
	mails_close(&ms);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append),
		cmocka_unit_test(test_dates),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_short_body),
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_commands_in_pieces),
		cmocka_unit_test(test_dovecot),
		cmocka_unit_test(test_by_turns),
		cmocka_unit_test(test_trace),
	};

	log_setup(LOG_TEXT, LV_ERROR, 2);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
