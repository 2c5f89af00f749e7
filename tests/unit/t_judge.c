/* t_judge.c: filters, rules, templates, dates and flags, as a table. */
#include <popferry/config.h>
#include <popferry/engine.h>
#include <popferry/mail.h>
#include <popferry/mem.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1700000000 /* 2023-11-14 */

static struct message *message_of(struct spool *sp, const char *text)
{
	struct message_maker *mk;
	struct message *m = NULL;
	const char *p;

	message_begin(&mk, sp);
	for (p = text; *p; p++) {
		if (*p == '\n')
			message_put(mk, "\r", 1);
		message_put(mk, p, 1);
	}
	assert_int_equal(message_end(&mk, &m, NULL), ST_OK);
	return m;
}

static struct job *job_of(const char *const *settings)
{
	struct err err = ERR_INIT;
	struct job *job;

	job_new(&job);
	for (; settings && *settings; settings += 2)
		if (job_set(job, settings[0], settings[1], "test", &err) != ST_OK)
			fail_msg("%s=%s: %s", settings[0], settings[1], err.text);
	return job;
}

#define TEN "aaaaaaaaaa"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define LONG_LOCAL HUNDRED HUNDRED HUNDRED HUNDRED

#define DATED \
	"Received: from a by b; Tue, 03 Jan 2023 10:00:00 +0100\n" \
	"Date: Mon, 02 Jan 2023 09:00:00 +0000\n"

static const struct {
	const char *name;
	const char *settings[9]; /* key, value, ..., NULL */
	const char *text;
	uint64_t listed;
	bool filtered;
	const char *rule;   /* NULL: not looked at */
	const char *folder; /* NULL: not looked at */
	const char *date_from;
	int64_t utc;
	const char *flags; /* of "SAFT"; NULL: not looked at */
} rows[] = {
	{ "default folder is INBOX", { 0 }, DATED "\nx\n", 0, false, NULL, "INBOX",
		"received", 1672736400, "" },
	{ "INBOX in other letters is INBOX", { "folder", "inbox" }, DATED "\nx\n", 0,
		false, NULL, "INBOX", NULL, 0, NULL },
	{ "and above another folder", { "folder", "Inbox/inbox" }, DATED "\nx\n", 0,
		false, NULL, "INBOX/inbox", NULL, 0, NULL },
	{ "but not where a name only begins so", { "folder", "inbox2" }, DATED "\nx\n",
		0, false, NULL, "inbox2", NULL, 0, NULL },
	{ "date header first when asked", { "date-source", "header,received" },
		DATED "\nx\n", 0, false, NULL, NULL, "header", 1672650000, NULL },
	{ "no date when asked for none", { "date-source", "none" }, DATED "\nx\n", 0,
		false, NULL, NULL, "none", 0, NULL },
	{ "an impossible Received gives way to Date", { 0 },
		"Received: x; Tue, 31 Feb 2023 10:00:00 +0000\n"
		"Date: Mon, 02 Jan 2023 09:00:00 +0000\n\nx\n",
		0, false, NULL, NULL, "header", 1672650000, NULL },
	{ "a date from the future is not taken", { 0 },
		"Date: Mon, 02 Jan 2034 09:00:00 +0000\n\nx\n", 0, false, NULL, NULL,
		"none", 0, NULL },
	{ "Status R is seen", { 0 }, "Status: RO\n\nx\n", 0, false, NULL, NULL, NULL, 0,
		"S" },
	{ "Status O alone is not", { 0 }, "Status: O\n\nx\n", 0, false, NULL, NULL,
		NULL, 0, "" },
	{ "X-Status has the others", { 0 }, "X-Status: AFT\n\nx\n", 0, false, NULL,
		NULL, NULL, 0, "AFT" },
	{ "seen all", { "seen", "all" }, "\nx\n", 0, false, NULL, NULL, NULL, 0, "S" },
	{ "seen none beats Status", { "seen", "none" }, "Status: RO\n\nx\n", 0, false,
		NULL, NULL, NULL, 0, "" },
	{ "since leaves out the older", { "since", "2023-01-04" }, DATED "\nx\n", 0,
		true, "since", NULL, NULL, 0, NULL },
	{ "since keeps the younger", { "since", "2023-01-03" }, DATED "\nx\n", 0, false,
		NULL, NULL, NULL, 0, NULL },
	{ "before leaves out the younger", { "before", "2023-01-03" }, DATED "\nx\n", 0,
		true, "before", NULL, NULL, 0, NULL },
	{ "an undated message is never filtered by date", { "since", "2023-01-04" },
		"\nx\n", 0, false, NULL, NULL, NULL, 0, NULL },
	{ "max-size goes by the listed size", { "max-size", "10" }, "A: b\n\nx\n", 11,
		true, "max-size", NULL, NULL, 0, NULL },
	{ "max-size without a listed size", { "max-size", "1k" }, "A: b\n\nx\n",
		UINT64_MAX, false, NULL, NULL, NULL, 0, NULL },
	{ "template with date", { "folder", "Archive/%Y/%m-%d" }, DATED "\nx\n", 0,
		false, NULL, "Archive/2023/01-03", NULL, 0, NULL },
	{ "template without a date", { "folder", "A/%Y" }, "\nx\n", 0, false, NULL,
		"A/undated", NULL, 0, NULL },
	{ "template with list", { "folder", "Lists/%l" },
		"List-Id: Good people <good.people.example.org>\n\nx\n", 0, false, NULL,
		"Lists/good", NULL, 0, NULL },
	{ "a slash in a value makes no level", { "folder", "From/%a" },
		"From: Eve <../../x/y@example.org>\n\nx\n", 0, false, NULL,
		"From/.._.._x_y@example.org", NULL, 0, NULL },
	{ "sender's domain and percent", { "folder", "%s 100%%" },
		"From: \"A, B\" <ann@example.org>\n\nx\n", 0, false, NULL,
		"example.org 100%", NULL, 0, NULL },
	{ "a sender longer than any address", { "folder", "%s" },
		"From: " LONG_LOCAL "@example.org\n\nx\n", 0, false, NULL, "unknown",
		NULL, 0, NULL },
	{ "no sender", { "folder", "%s" }, "\nx\n", 0, false, NULL, "unknown", NULL, 0,
		NULL },
};

static void check_flags(const struct judgement *v, const char *want)
{
	assert_int_equal(v->seen, strchr(want, 'S') != NULL);
	assert_int_equal(v->answered, strchr(want, 'A') != NULL);
	assert_int_equal(v->flagged, strchr(want, 'F') != NULL);
	assert_int_equal(v->draft, strchr(want, 'T') != NULL);
}

static void test_rows(void **state)
{
	struct spool *sp;
	size_t i;

	(void)state;
	spool_open(&sp, -1, 1 << 20);
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		struct message *m = message_of(sp, rows[i].text);
		struct job *job = job_of(rows[i].settings);
		struct judgement v;

		print_message("# %s\n", rows[i].name);
		judge(job, m, rows[i].listed, NOW, &v);
		assert_int_equal(v.filtered, rows[i].filtered);
		if (rows[i].rule)
			assert_string_equal(v.rule, rows[i].rule);
		if (rows[i].folder)
			assert_string_equal(v.folder, rows[i].folder);
		if (rows[i].date_from) {
			assert_string_equal(v.date_from, rows[i].date_from);
			assert_int_equal(v.date.known ? v.date.utc : 0, rows[i].utc);
		}
		if (rows[i].flags)
			check_flags(&v, rows[i].flags);
		job_free(&job);
		message_free(&m);
	}
	spool_close(&sp);
}

/* ---- rules ---- */

static struct rule_test tests[] = {
	{ TEST_FROM_ME, NULL, NULL, 1 },
	{ TEST_HEADER, (char *)(uintptr_t) "List-Id", (char *)(uintptr_t) "*", 0 },
	{ TEST_HEADER, (char *)(uintptr_t) "Subject", (char *)(uintptr_t) "*spam*", 0 },
	{ TEST_BEFORE, NULL, NULL, 1600000000 },
	{ TEST_MIN_SIZE, NULL, NULL, 1 },
};
static struct rule rules[] = {
	{ (char *)(uintptr_t) "sent", &tests[0], 1, (char *)(uintptr_t) "special:Sent",
		false },
	{ (char *)(uintptr_t) "junk", &tests[2], 1, NULL, true },
	{ (char *)(uintptr_t) "list", &tests[1], 1, (char *)(uintptr_t) "Lists/%l",
		false },
	{ (char *)(uintptr_t) "old", &tests[3], 2, (char *)(uintptr_t) "Old/%Y",
		false },
};

static const struct {
	const char *text, *rule, *folder;
	bool filtered;
} routed[] = {
	{ "From: Me <ME@Example.ORG>\nList-Id: <a.b>\n\nx\n", "sent", "special:Sent",
		false },
	{ "From: notme@example.org\nList-Id: <a.b>\n\nx\n", "list", "Lists/a", false },
	{ "Subject: no SPAM please\nList-Id: <a.b>\n\nx\n", "junk", "", true },
	{ "Date: Mon, 02 Jan 2012 09:00:00 +0000\n\nx\n", "old", "Old/2012", false },
	{ "Date: Mon, 02 Jan 2023 09:00:00 +0000\n\nx\n", NULL, "INBOX", false },
};

static void test_rules(void **state)
{
	static const char *const me[] = { "me", "me@example.org", NULL };
	struct job *job = job_of(me);
	struct spool *sp;
	size_t i;

	(void)state;
	job->rules = rules;
	job->n_rules = N_ELEMENTS(rules);
	spool_open(&sp, -1, 1 << 20);
	for (i = 0; i < N_ELEMENTS(routed); i++) {
		struct message *m = message_of(sp, routed[i].text);
		struct judgement v;

		judge(job, m, UINT64_MAX, NOW, &v);
		assert_int_equal(v.filtered, routed[i].filtered);
		if (routed[i].rule)
			assert_string_equal(v.rule, routed[i].rule);
		else
			assert_null(v.rule);
		assert_string_equal(v.folder, routed[i].folder);
		message_free(&m);
	}
	spool_close(&sp);
	job->rules = NULL;
	job->n_rules = 0;
	job_free(&job);
}

int main(void)
{
	const struct CMUnitTest all[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_rules),
	};

	return cmocka_run_group_tests(all, NULL, NULL);
}
