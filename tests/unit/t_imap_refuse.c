/* t_imap_refuse.c: what an APPEND is refused for, what helps, and limits known before
 * it. */
#include "append_kit.h"

/* What a refusal is for, and what only looks like one. */
static void test_causes(void **state)
{
	static const struct {
		const char *reply;
		enum imap_outcome outcome;
		enum imap_cause cause;
		enum status status;
		int exit;
		bool absent;
	} replies[] = {
		{ "NO Message contains invalid header", IMAP_REFUSED, IMAP_FOR_CONTENT,
			ST_OK, 0, false },
		{ "NO Message contains NUL characters", IMAP_REFUSED, IMAP_FOR_CONTENT,
			ST_OK, 0, false },
		{ "NO Message contains bare newlines", IMAP_REFUSED, IMAP_FOR_CONTENT,
			ST_OK, 0, false },
		{ "NO no", IMAP_REFUSED, IMAP_FOR_CONTENT, ST_OK, 0, false },
		{ "NO [TOOBIG] no", IMAP_REFUSED, IMAP_FOR_SIZE, ST_OK, 0, false },
		{ "NO [LIMIT] Mail size is larger than the maximum", IMAP_REFUSED,
			IMAP_FOR_SIZE, ST_OK, 0, false },
		{ "NO Maximum size of appendable message has been exceeded",
			IMAP_REFUSED, IMAP_FOR_SIZE, ST_OK, 0, false },
		{ "NO Message refused because it contains a virus", IMAP_REFUSED,
			IMAP_FOR_POLICY, ST_OK, 0, false },
		{ "NO Over quota", IMAP_PENDING, 0, ST_DENIED, EX_CANTCREAT, true },
		{ "NO Not enough disk quota", IMAP_PENDING, 0, ST_DENIED, EX_CANTCREAT,
			true },
		{ "NO Blocks limit exceeded", IMAP_PENDING, 0, ST_DENIED, EX_CANTCREAT,
			true },
		{ "NO Quota limit will be exceeded", IMAP_PENDING, 0, ST_DENIED,
			EX_CANTCREAT, true },
		{ "NO storage limit has been exceeded", IMAP_PENDING, 0, ST_DENIED,
			EX_CANTCREAT, true },
		{ "NO It is time to find a bigger place", IMAP_PENDING, 0, ST_DENIED,
			EX_CANTCREAT, true },
		{ "NO Mailbox is full", IMAP_PENDING, 0, ST_DENIED, EX_CANTCREAT,
			true },
		{ "NO Maximum mailbox size exceeded", IMAP_PENDING, 0, ST_DENIED,
			EX_CANTCREAT, true },
		{ "NO [NOPERM] no", IMAP_PENDING, 0, ST_DENIED, EX_CANTCREAT, true },
		{ "NO Permission denied", IMAP_PENDING, 0, ST_DENIED, EX_CANTCREAT,
			true },
		{ "NO [LIMIT] slowly", IMAP_PENDING, 0, ST_RETRY, EX_TEMPFAIL, true },
		{ "NO [INUSE] later", IMAP_PENDING, 0, ST_RETRY, EX_TEMPFAIL, true },
		{ "NO [OVERQUOTA] Account exceeded command or bandwidth limits",
			IMAP_PENDING, 0, ST_RETRY, EX_TEMPFAIL, true },
		{ "BAD Request is throttled. Suggested Backoff Time: 99 milliseconds",
			IMAP_PENDING, 0, ST_RETRY, EX_TEMPFAIL, true },
		{ "NO [TRYCREATE] gone", IMAP_PENDING, 0, ST_RETRY, EX_TEMPFAIL, true },
		{ "NO APPEND [TRYCREATE] failed", IMAP_REFUSED, IMAP_FOR_CONTENT, ST_OK,
			0, false },
		{ "NO [UNAVAILABLE] later", IMAP_PENDING, 0, ST_RETRY, EX_TEMPFAIL,
			false },
		{ "NO [SERVERBUG] timeout", IMAP_PENDING, 0, ST_RETRY, EX_TEMPFAIL,
			false },
		{ "NO Server Unavailable. 15", IMAP_PENDING, 0, ST_RETRY, EX_TEMPFAIL,
			false },
	};
	struct imap_config cfg = rig_config();
	struct imap_append a;
	char text[4096];
	struct mails ms;
	struct rig rig;
	size_t k;

	(void)state;
	add_bodies(&ms);
	for (k = 0; k < N_ELEMENTS(replies); k++) {
		snprintf(text, sizeof(text), "%s%sS: +\n%sS: 6 %s\n%s", START("X"),
			SYNCED("6"), BODY("0"), replies[k].reply,
			replies[k].outcome == IMAP_REFUSED ? LOGOUT("7") : "");
		open_for_one(&rig, text, &cfg, &ms, &a);
		rig_want(&rig, replies[k].reply, 0, put_all(&rig, &a, 1),
			replies[k].status, replies[k].exit, NULL);
		if (a.outcome != replies[k].outcome || a.absent != replies[k].absent)
			fail_msg("%s: %d, absent %d", replies[k].reply, a.outcome,
				a.absent);
		if (a.outcome == IMAP_REFUSED && a.cause != replies[k].cause)
			fail_msg("%s: cause %d", replies[k].reply, a.cause);
		spent(&a, 1);
		rig_close(&rig);
	}
	mails_close(&ms);
}

/* One of arguments, as they go out, and the body. */
#define WITH(tag, args) \
	"C: " tag " APPEND \"INBOX\" " args " {19}\nSYNC\nS: +\n" BODY("0")
#define DAY "\" 5-Jan-2024 10:00:00 +0000\""
#define SEEN "(\\\\Seen)"

/* Messages that are refused are offered again with less, some times (Q77, Q104). */
static void test_less(void **state)
{
	static const struct {
		const char *name, *script;
		size_t n;
		const char *expect,
			*less; /* of each: S R; "-" all, d f b: lacks that */
	} rows_[] = {
		{ "date by name, remembered after two",
			WITH("6", SEEN " " DAY) "S: 6 NO Invalid date\n" WITH(
				"7", SEEN) "S: 7 OK x\n" WITH("8",
				SEEN " " DAY) "S: 8 NO Invalid date\n" WITH("9",
				SEEN) "S: 9 OK x\n" WITH("10",
				SEEN) "S: 10 OK x\n" LOGOUT("11"),
			3, "SSS", "ddd" },
		{ "date in place of +",
			"C: 6 APPEND \"INBOX\" " SEEN " " DAY " {19}\nSYNC\n"
			"S: 6 BAD Invalid arguments\nC: 7 NOOP\nS: 7 OK\n" WITH(
				"8", SEEN) "S: 8 OK x\n" LOGOUT("9"),
			1, "S", "d" },
		{ "flags by name",
			WITH("6", SEEN " " DAY) "S: 6 NO Invalid flag list\n" WITH(
				"7", "() " DAY) "S: 7 OK x\n" WITH("8",
				"() " DAY) "S: 8 OK x\n" LOGOUT("9"),
			2, "SS", "ff" },
		{ "neither",
			WITH("6", SEEN " " DAY) "S: 6 NO APPEND failed\n" WITH(
				"7", SEEN) "S: 7 NO APPEND failed\n" WITH("8",
				"() " DAY) "S: 8 NO APPEND failed\n" WITH("9",
				"()") "S: 9 OK x\n" LOGOUT("10"),
			1, "S", "b" },
		{ "not for its arguments",
			WITH("6", SEEN " " DAY) "S: 6 NO APPEND failed\n" WITH(
				"7", SEEN) "S: 7 NO APPEND failed\n" WITH("8",
				"() " DAY) "S: 8 NO APPEND failed\n" WITH("9",
				"()") "S: 9 NO no\n" WITH("10",
				SEEN " " DAY) "S: 10 OK x\n" LOGOUT("11"),
			2, "RS", "--" },
		{ "the reason is another",
			WITH("6",
				SEEN
				" " DAY) "S: 6 NO Message contains invalid header\n" WITH("7",
				SEEN " " DAY) "S: 7 NO [TOOBIG] x\n" LOGOUT("8"),
			2, "RR", "--" },
	};
	struct imap_config cfg = rig_config();
	const struct imap_mailbox *mb;
	struct imap_append a[3];
	char text[8192], less;
	struct mails ms;
	struct rig rig;
	size_t k, j;

	(void)state;
	add_bodies(&ms);
	for (k = 0; k < N_ELEMENTS(rows_); k++) {
		snprintf(text, sizeof(text), "%s%s", START("X"), rows_[k].script);
		cfg.cautious = true;
		open_inbox(&rig, text, 0, &cfg, &mb);
		memset(a, 0, sizeof(a));
		for (j = 0; j < rows_[k].n; j++) {
			a[j].message = ms.m[0];
			a[j].mailbox = mb;
			a[j].seen = true;
			a[j].date = (struct when){ true, 1704448800, 0 };
		}
		rig_want(&rig, rows_[k].name, 0, put_all(&rig, a, rows_[k].n), ST_OK, 0,
			NULL);
		for (j = 0; j < rows_[k].n; j++) {
			less = a[j].no_date && a[j].no_flags ? 'b'
				: a[j].no_date               ? 'd'
				: a[j].no_flags              ? 'f'
							     : '-';
			if ("PSR"[a[j].outcome] != rows_[k].expect[j] ||
				less != rows_[k].less[j])
				fail_msg("%s: message %zu: outcome %d, lacks %c",
					rows_[k].name, j, a[j].outcome, less);
		}
		spent(a, N_ELEMENTS(a));
		rig_close(&rig);
	}
	mails_close(&ms);
}

/* A limit for each mailbox, and one that is believed when it shows (Q84). */
static void test_mailbox_limit(void **state)
{
	static const size_t size = 2 * 1024 * 1024;
	struct imap_config cfg = rig_config();
	const struct imap_mailbox *mb;
	struct imap_append a[2];
	char *text = xmalloc(size);
	struct mails ms;
	struct rig rig;

	(void)state;
	memset(text, 'a', size);
	memcpy(text + size - 2, "\r\n", 2);
	add_bodies(&ms);
	mails_add(&ms, text, size);
	open_inbox(&rig,
		GREET("X") LOGIN("APPENDLIMIT",
			"\"/\"") "C: 5 STATUS \"INBOX\" (APPENDLIMIT)\n"
				 "S: * STATUS INBOX (APPENDLIMIT 1048576)\n"
				 "S: 5 OK x\n" SELECT("6", "INBOX", "0", "12")
					 LOGOUT("7"),
		0, &cfg, &mb);
	memset(a, 0, sizeof(a));
	a[0].message = ms.m[NMAX];
	a[0].mailbox = mb;
	assert_int_equal(put_all(&rig, a, 1), ST_OK);
	assert_int_equal(a[0].outcome, IMAP_REFUSED);
	assert_int_equal(a[0].cause, IMAP_FOR_SIZE);
	assert_non_null(strstr(a[0].err->text, "1048576"));
	spent(a, N_ELEMENTS(a));
	rig_close(&rig);

	/* 10 bytes cannot be meant, until the server says so. */
	open_inbox(&rig,
		GREET("X") LOGIN("APPENDLIMIT",
			"\"/\"") "C: 5 STATUS \"INBOX\" (APPENDLIMIT)\n"
				 "S: * STATUS INBOX (APPENDLIMIT 10)\n"
				 "S: 5 OK x\n" SELECT("6", "INBOX", "0", "12")
					 SYNCED("7") "S: 7 NO [TOOBIG] no\nC: 8 NOOP\nS: 8 OK\n" LOGOUT(
						 "9"),
		0, &cfg, &mb);
	memset(a, 0, sizeof(a));
	a[0].message = ms.m[0];
	a[1].message = ms.m[1];
	a[0].mailbox = a[1].mailbox = mb;
	assert_int_equal(put_all(&rig, a, 2), ST_OK);
	assert_int_equal(a[0].outcome, IMAP_REFUSED);
	assert_int_equal(a[1].outcome, IMAP_REFUSED);
	assert_non_null(strstr(a[0].err->text, "limit of 10 bytes"));
	assert_non_null(strstr(a[1].err->text, "(10 bytes)"));
	spent(a, N_ELEMENTS(a));
	rig_close(&rig);
	mails_close(&ms);
	free(text);
}

/* An OK that asks for less haste, with and without a time (Q88). */
static void test_ease(void **state)
{
	static const struct {
		const char *reply;
		int ms;
	} replies[] = {
		{ "OK done", 0 },
		{ "OK Success [THROTTLED]", -1 },
		{ "OK [THROTTLED] Suggested Backoff Time: 4321 milliseconds", 4321 },
	};
	struct imap_config cfg = rig_config();
	struct imap_append a;
	char text[4096];
	struct mails ms;
	struct rig rig;
	size_t k;

	(void)state;
	add_bodies(&ms);
	for (k = 0; k < N_ELEMENTS(replies); k++) {
		snprintf(text, sizeof(text), "%s%sS: +\n%sS: 6 %s\n%s", START("X"),
			SYNCED("6"), BODY("0"), replies[k].reply, LOGOUT("7"));
		open_for_one(&rig, text, &cfg, &ms, &a);
		assert_int_equal(put_all(&rig, &a, 1), ST_OK);
		assert_int_equal(imap_wait_ms(rig.imap), replies[k].ms);
		assert_int_equal(imap_wait_ms(rig.imap), 0);
		spent(&a, 1);
		rig_close(&rig);
	}
	mails_close(&ms);
}

static void test_wait(void **state)
{
	struct imap_config cfg = rig_config();
	const struct imap_mailbox *mb;
	struct imap_append a = { 0 };
	struct mails ms;
	struct rig rig;

	(void)state;
	add_bodies(&ms);
	open_inbox(&rig,
		START("X") SYNCED(
			"6") "S: 6 BAD throttled. Suggested Backoff Time: 299961 "
			     "milliseconds\n",
		0, &cfg, &mb);
	a.message = ms.m[0];
	a.mailbox = mb;
	assert_int_equal(imap_append(rig.imap, &a, &rig.err), ST_RETRY);
	assert_int_equal(imap_wait_ms(rig.imap), 299961);
	spent(&a, 1);
	rig_close(&rig);
	mails_close(&ms);
}

static void test_limit(void **state)
{
	struct imap_config cfg = rig_config();
	const struct imap_mailbox *mb;
	struct imap_append a = { 0 };
	struct mails ms;
	struct rig rig;

	(void)state;
	add_bodies(&ms);
	cfg.append_max = 18;
	open_for_one(&rig, GREET("X") LOGIN("X", "\"/\"") LOGOUT("5"), &cfg, &ms, &a);
	assert_int_equal(imap_append(rig.imap, &a, &rig.err), ST_OK);
	assert_int_equal(a.outcome, IMAP_REFUSED);
	assert_int_equal(a.err->status, ST_SKIP);
	spent(&a, 1);
	rig_close(&rig);

	/* A limit told in KiB, as Cyrus once did, is not believed. */
	cfg.append_max = 0;
	open_inbox(&rig,
		START("APPENDLIMIT=10")
			SYNCED("6") "S: +\n" BODY("0") "S: 6 OK done\n" LOGOUT("7"),
		0, &cfg, &mb);
	a.mailbox = mb;
	assert_int_equal(put_all(&rig, &a, 1), ST_OK);
	assert_int_equal(a.outcome, IMAP_STORED);
	spent(&a, 1);
	rig_close(&rig);
	mails_close(&ms);
}

static void test_readonly(void **state)
{
	struct imap_config cfg = rig_config();
	const struct imap_mailbox *mb;
	struct imap_append a = { 0 };
	struct mails ms;
	struct rig rig;

	(void)state;
	add_bodies(&ms);
	open_inbox(&rig,
		GREET("X") LOGIN("X", "\"/\"") "C: 5 SELECT INBOX\nS: * 0 EXISTS\n"
					       "S: * OK [UIDNEXT 1] x\n"
					       "S: 5 OK [READ-ONLY] done\n" LOGOUT("6"),
		0, &cfg, &mb);
	a.message = ms.m[0];
	a.mailbox = mb;
	assert_int_equal(imap_append(rig.imap, &a, &rig.err), ST_DENIED);
	assert_int_equal(rig.err.exit, EX_CANTCREAT);
	spent(&a, 1);
	rig_close(&rig);
	mails_close(&ms);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_causes),
		cmocka_unit_test(test_less),
		cmocka_unit_test(test_mailbox_limit),
		cmocka_unit_test(test_ease),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_readonly),
	};

	log_setup(LOG_TEXT, LV_ERROR, 2);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
