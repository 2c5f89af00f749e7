/*
 * t_identity.c: which message is which, and how many sessions that takes. What the case
 * files cannot say: facts of a profile, pauses between logins, what is logged and
 * reported.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_kit.h"

enum { STEPS = 6, WORDS = 12, STORY_SECONDS = 60 };

struct step {
	const char *pop; /* words for fakepop_say(), "; " between commands */
	const char *options;
	bool window, glued;    /* facts of the profile */
	unsigned limit, pause; /* session-messages, login-interval */
	int exit;
	const char *ledger; /* NULL: no more steps */
	unsigned logins;    /* 0: do not look */
	unsigned retrs;     /* one more than RETRs at most; 0: do not look */
	const char *text;   /* in the error */
	const char *report, *log;
	const char *refuse; /* IMAP */
};

struct story {
	const char *name;
	struct step step[STEPS];
	unsigned copies; /* at the IMAP side in the end */
};

static const struct story stories[] = {
	{ "a second run that has nothing to do is one session",
		{ { .pop = "msgs 5", .ledger = "5 listed, 5 stored", .logins = 2 },
			{ .ledger = "5 listed, 5 known", .logins = 1, .retrs = 1 } },
		5 },
	{ "--limit: no second look",
		{ { .pop = "msgs 5",
			.options = "limit=5",
			.ledger = "5 listed, 5 stored",
			.logins = 1 } },
		5 },
	{ "no UIDLs: no second look",
		{ { .pop = "msgs 5; uidl off",
			.ledger = "5 listed, 5 stored",
			.logins = 1,
			.retrs = 6 } },
		5 },
	{ "what comes during the run",
		{ { .pop = "msgs 3; session 2 msgs 5; session 3 msgs 6",
			.ledger = "6 listed, 6 stored",
			.logins = 4 } },
		6 },
	{ "a second look that fails spoils nothing",
		{ { .pop = "msgs 3; session 2 on PASS reply \"-ERR [IN-USE] no\"",
			.ledger = "3 listed, 3 stored",
			.logins = 1,
			.log = "second-look-failed" } },
		3 },
	{ "nor one that is refused",
		{ { .pop = "msgs 3; session 2 on PASS reply \"-ERR [AUTH] no\"",
			.ledger = "3 listed, 3 stored",
			.logins = 1,
			.log = "second-look-failed" } },
		3 },
	{ "nor one that lists nothing",
		{ { .pop = "msgs 3; session 2 on LIST reply \"-ERR no\"",
			.ledger = "3 listed, 3 stored",
			.logins = 2,
			.log = "second-look-failed" } },
		3 },
	{ "but where only a part is shown it is tried again",
		{ { .pop = "msgs 6; window 4; session 2 on PASS reply \"-ERR [IN-USE] no\"; "
			   "session 3 well",
			.window = true,
			.ledger = "6 listed, 6 stored",
			.logins = 3 } },
		6 },
	{ "no second look when a pause is wanted",
		{ { .pop = "msgs 3; capa +\"LOGIN-DELAY 1\"",
			.ledger = "3 listed, 3 stored",
			.logins = 1,
			.log = "no-second-look" } },
		3 },
	{ "the pause is kept from run to run",
		{ { .pop = "msgs 3; capa +\"LOGIN-DELAY 1\"; login-delay 700",
			  .ledger = "3 listed, 3 stored" },
			{ .pop = "msgs 4",
				.ledger = "4 listed, 3 known, 1 stored",
				.log = "login-pause" } },
		4 },
	{ "a long one ends the run, and says when to come back",
		{ { .pop = "msgs 3; capa +\"LOGIN-DELAY 900\"",
			  .ledger = "3 listed, 3 stored" },
			{ .exit = 75, .ledger = "", .text = "run again after 20" } },
		3 },
	{ "a pause of the profile",
		{ { .pop = "msgs 3",
			  .pause = 300,
			  .ledger = "3 listed, 3 stored",
			  .logins = 1 },
			{ .pause = 300, .exit = 75, .ledger = "", .text = "300 s" } },
		3 },
	{ "a window with a pause",
		{ { .pop = "msgs 6; window 4; capa +\"LOGIN-DELAY 1\"",
			.window = true,
			.ledger = "6 listed, 6 stored",
			.logins = 3,
			.log = "login-pause" } },
		6 },
	{ "a window whose QUIT was lost is fetched anew",
		{ { .pop = "msgs 8; window 4; on QUIT drop",
			  .window = true,
			  .ledger = "4 listed, 4 stored" },
			{ .pop = "well; window 4",
				.window = true,
				.ledger = "8 listed, 4 known, 4 stored",
				.log = "fetching-again" },
			{ .window = true, .ledger = "", .logins = 1 } },
		8 },
	{ "and one that nobody knew of, by one message first",
		{ { .pop = "msgs 12; window 4; on QUIT drop times=2",
			  .ledger = "4 listed, 4 stored" },
			{ .ledger = "12 listed, 4 known, 8 stored",
				.logins = 5,
				.log = "fetching-again" } },
		12 },
	{ "where all is shown that costs one message",
		{ { .pop = "msgs 9; on QUIT drop times=2",
			  .ledger = "9 listed, 9 stored" },
			{ .ledger = "9 listed, 9 known", .retrs = 2, .logins = 2 },
			{ .ledger = "9 listed, 9 known", .retrs = 1, .logins = 1 } },
		9 },
	{ "sessions of three messages",
		{ { .pop = "msgs 8",
			.limit = 3,
			.ledger = "8 listed, 8 stored",
			.logins = 4 } },
		8 },
	{ "two copies stored, three listed under new UIDLs",
		{ { .pop = "msgs 2; retr.2 sameas=1",
			  .options = "dedup=none",
			  .ledger = "2 listed, 2 stored" },
			{ .pop = "msgs 3; retr.3 sameas=1; uidl reset",
				.options = "dedup=none",
				.ledger = "3 listed, 2 known, 1 stored" },
			{ .options = "dedup=none",
				.ledger = "3 listed, 3 known",
				.retrs = 1 },
			{ .pop = "uidl reset",
				.options = "dedup=none",
				.ledger = "3 listed, 3 known" } },
		3 },
	{ "the same, deduplicated",
		{ { .pop = "msgs 2; retr.2 sameas=1",
			  .ledger = "2 listed, 1 stored, 1 duplicate" },
			{ .pop = "msgs 3; retr.3 sameas=1; uidl reset",
				.ledger = "3 listed, 1 known, 2 duplicate" } },
		1 },
	{ "UIDLs that are all new are told of, once",
		{ { .pop = "msgs 25", .ledger = "25 listed, 25 stored" },
			{ .pop = "uidl reset; msgs 26",
				.ledger = "26 listed, 25 known, 1 stored",
				.log = "uidl-reset" } },
		26 },
	{ "UIDLs that come and go",
		{ { .pop = "msgs 4", .ledger = "4 listed, 4 stored" },
			{ .pop = "uidl off",
				.options = "dedup=none",
				.ledger = "4 listed, 4 known" },
			{ .pop = "uidl normal",
				.options = "dedup=none",
				.ledger = "4 listed, 4 known",
				.retrs = 1 },
			{ .pop = "uidl number; msgs 5",
				.options = "dedup=none",
				.ledger = "5 listed, 4 known, 1 stored",
				.log = "uidl-is-number" },
			{ .pop = "uidl reset",
				.options = "dedup=none",
				.ledger = "5 listed, 5 known" } },
		5 },
	{ "no UIDLs, twice stored, and a third copy",
		{ { .pop = "msgs 2; retr.2 sameas=1",
			  .options = "dedup=none",
			  .ledger = "2 listed, 2 stored" },
			{ .pop = "uidl off; msgs 3; retr.3 sameas=1",
				.options = "dedup=none",
				.ledger = "3 listed, 2 known, 1 stored" },
			{ .options = "dedup=none", .ledger = "3 listed, 3 known" } },
		3 },
	{ "new UIDLs and a new destination",
		{ { .pop = "msgs 4", .ledger = "4 listed, 4 stored" },
			{ .pop = "uidl reset",
				.options = "dedup=none archive",
				.ledger = "4 listed, 4 stored" },
			{ .options = "dedup=none archive",
				.ledger = "4 listed, 4 known",
				.retrs = 1 } },
		4 },
	{ "new UIDLs for what failed",
		{ { .pop = "msgs 3",
			  .refuse = "letter 2",
			  .exit = 2,
			  .ledger = "3 listed, 2 stored, 1 failed" },
			{ .pop = "uidl reset",
				.options = "dedup=none",
				.ledger = "3 listed, 2 known, 1 stored" } },
		3 },
	{ "a message that vanished is in the report",
		{ { .pop = "msgs 3; after 1 RETR drop; session 2 vanish 3; session 2 well",
			.ledger = "3 listed, 2 stored, 1 vanished",
			.report = "\"uidl\":\"u3\",\"number\":null" } },
		2 },
	{ "suddenly empty: believed in the third run",
		{ { .pop = "msgs 3", .ledger = "3 listed, 3 stored" },
			{ .pop = "empty",
				.exit = 75,
				.ledger = "",
				.text = "the maildrop is empty, but it held 3 messages" },
			{ .exit = 75, .ledger = "", .text = "held 3 messages" },
			{ .ledger = "", .log = "empty-believed" }, { .ledger = "" } },
		3 },
	{ "and not when mail comes between",
		{ { .pop = "msgs 3", .ledger = "3 listed, 3 stored" },
			{ .pop = "vanish 1..3", .exit = 75, .ledger = "" },
			{ .pop = "return 1..3", .ledger = "3 listed, 3 known" },
			{ .pop = "vanish 1..3", .exit = 75, .ledger = "" },
			{ .exit = 75, .ledger = "" } },
		3 },
	{ "a server that deletes what was fetched is not suspicious",
		{ { .pop = "msgs 3; destructive quit", .ledger = "3 listed, 3 stored" },
			{ .ledger = "" } },
		3 },
	{ "refused again and again, in one session more, then in each run once",
		{ { .pop = "msgs 4; retr.2 refuse=\"no\"",
			  .exit = 2,
			  .ledger = "4 listed, 3 stored, 1 failed",
			  .logins = 2,
			  .retrs = 6 },
			{ .exit = 2,
				.ledger = "4 listed, 3 known, 1 failed",
				.logins = 1,
				.retrs = 2 } },
		3 },
	{ "many are refused: one session more for all",
		{ { .pop = "msgs 12; on RETR:2 reply \"-ERR no\"; on RETR:5 reply \"-ERR no\"; "
			   "on RETR:9 reply \"-ERR no\"",
			.exit = 2,
			.ledger = "12 listed, 9 stored, 3 failed",
			.logins = 2,
			.retrs = 16 } },
		9 },
	{ "one message a session",
		{ { .pop = "msgs 30; after 1 RETR drop",
			.ledger = "30 listed, 30 stored" } },
		30 },
	{ "CAPA that kills is not sent again",
		{ { .pop = "msgs 2; on CAPA drop", .ledger = "2 listed, 2 stored" },
			{ .ledger = "2 listed, 2 known", .log = "no-capa" },
			{ .ledger = "2 listed, 2 known", .logins = 1 } },
		2 },
	{ "an empty message gets a second session, and that a second look",
		{ { .pop = "msgs 2; retr.2 empty",
			.options = "only-archive",
			.ledger = "2 listed, 2 stored",
			.logins = 3,
			.retrs = 4,
			.report = "\"kind\":\"empty\"" } },
		0 },
	{ "a glued dot is taken off where the profile says so",
		{ { .pop = "msgs 3; retr.2 term=glued",
			.glued = true,
			.ledger = "3 listed, 3 stored",
			.report = "\"kind\":\"glued-dot\"" } },
		3 },
	{ "UIDLs that are others after each loss",
		{ { .pop = "msgs 12; uidl random; after 5 RETR drop",
			.options = "dedup=none",
			.ledger = "12 listed, 12 stored" } },
		12 },
	{ "what was deleted by a session that was lost is no surprise",
		{ { .pop = "msgs 3; destructive quit; on QUIT drop done times=1; "
			   "session 2 on PASS reply \"-ERR [AUTH] no\"",
			  .ledger = "3 listed, 3 stored" },
			{ .pop = "well; destructive quit", .ledger = "" } },
		3 },
	{ "a stop leaves in good order",
		{ { .pop = "msgs 60; lock 60000; on RETR delay 20; on RETR#12 stop",
			  .exit = 75,
			  .ledger = "*",
			  .retrs = 50 },
			{ .pop = "well", .ledger = "*" },
			{ .ledger = "60 listed, 60 known" } },
		60 },
	{ "a message smaller than listed, with others asked for",
		{ { .pop = "msgs 6; pipelining on; list.3 x1.5",
			.ledger = "6 listed, 6 stored" } },
		6 },
};

/* ---- words for the server ---- */

static void say_one(struct rig *r, const char *from, size_t n)
{
	char *text = xmemdup0(from, n), *p = text, *argv[WORDS + 1], why[300] = "";
	bool quoted = false;
	int argc = 0;
	char *out;

	while (*p) {
		p += strspn(p, " ");
		if (!*p)
			break;
		assert_true(argc < WORDS);
		argv[argc++] = out = p;
		for (; *p && (quoted || *p != ' '); p++)
			if (*p == '"')
				quoted = !quoted;
			else
				*out++ = *p;
		p += *p == ' ';
		*out = '\0';
	}
	argv[argc] = NULL;
	if (!fakepop_say(r->pop, argc, argv, why, sizeof(why)))
		fail_msg("%.*s: %s", (int)n, from, why);
	free(text);
}

static void say(struct rig *r, const char *words)
{
	const char *end;

	while (words && *words) {
		end = strstr(words, "; ");
		say_one(r, words, end ? (size_t)(end - words) : strlen(words));
		words = end ? end + 2 : NULL;
	}
}

/* ---- a story ---- */

static char *slurp(const char *path)
{
	struct buf b = BUF_INIT(1 << 24);
	char part[4096];
	FILE *f = fopen(path, "rb");
	size_t n;

	while (f && (n = fread(part, 1, sizeof(part), f)) > 0)
		buf_add(&b, part, n);
	if (f)
		fclose(f);
	buf_add(&b, "", 0);
	return buf_take(&b);
}

static void expect_in(const char *name, size_t i, const char *what, const char *path,
	const char *text)
{
	char *all = slurp(path);

	if (text && !strstr(all, text))
		fail_msg("%s, step %zu: no %s in the %s: %s", name, i + 1, text, what,
			all);
	free(all);
}

static void expect_once(const char *name, const char *path, const char *text)
{
	char *all = slurp(path), *first = strstr(all, text);

	if (first && strcmp(text, "uidl-reset") == 0 && strstr(first + 1, text))
		fail_msg("%s: %s twice", name, text);
	free(all);
}

static void on_event(void *ctx, enum fakepop_event what)
{
	if (what == FAKEPOP_STOP)
		engine_stop(ctx);
}

/* As kit_run_job(), with time enough for a stop. */
static int run_job(struct rig *r, struct job *j)
{
	const struct pace pace = { 5, 60, 4000, 0, kit_batch(), 0 };
	struct engine *e;
	int code;

	engine_new(&e, j, NULL);
	engine_pace(e, &pace);
	fakepop_on_event(r->pop, on_event, e);
	code = engine_run(e, &r->out);
	fakepop_on_event(r->pop, NULL, NULL);
	kit_ledger(&r->out.ledger, r->ledger, sizeof(r->ledger));
	assert_true(ledger_balances(&r->out.ledger));
	engine_free(&e);
	return code;
}

static void play(struct rig *r, const struct story *s, size_t i)
{
	const struct step *p = &s->step[i];
	const struct fakeimap_ways ways = { .refuse = p->refuse, .refusal = "NO no" };
	char report[300], log[300];
	struct err err = ERR_INIT;
	struct job *j = kit_job(r, p->options);
	unsigned logins, retrs;
	int code, fd;

	snprintf(report, sizeof(report), "%s/report", r->dir);
	snprintf(log, sizeof(log), "%s/log", r->dir);
	j->source.pop3.window = p->window;
	j->source.pop3.glued_dot = p->glued;
	j->source.pop3.session_messages = p->limit;
	j->source.pop3.login_interval = p->pause;
	j->timeout = 1;
	fakeimap_behave(r->imap, &ways);
	say(r, p->pop);
	fakepop_mark(r->pop);
	logins = fakepop_logins(r->pop);
	retrs = fakepop_count(r->pop, "RETR");
	fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	log_setup(LOG_TEXT, LV_INFO, fd);
	code = run_job(r, j);
	log_setup(LOG_TEXT, LV_ERROR, 2);
	close(fd);
	logins = fakepop_logins(r->pop) - logins;
	retrs = fakepop_count(r->pop, "RETR") - retrs;
	if (code != p->exit || (*p->ledger != '*' && strcmp(r->ledger, p->ledger) != 0))
		fail_msg("%s, step %zu: exit %d (%s), %s; not %d, %s", s->name, i + 1,
			code, r->out.err.text, r->ledger, p->exit, p->ledger);
	if (p->logins && logins != p->logins)
		fail_msg("%s, step %zu: %u logins, not %u", s->name, i + 1, logins,
			p->logins);
	if (p->retrs && retrs >= p->retrs)
		fail_msg("%s, step %zu: %u RETRs", s->name, i + 1, retrs);
	if (p->text && !strstr(r->out.err.text, p->text))
		fail_msg("%s, step %zu: %s", s->name, i + 1, r->out.err.text);
	assert_int_equal(report_write(j, &r->out, report, &err), ST_OK);
	expect_in(s->name, i, "report", report, p->report);
	expect_in(s->name, i, "log", log, p->log);
	if (p->log)
		expect_once(s->name, log, p->log);
	if (fakepop_violation(r->pop))
		fail_msg("%s: %s", s->name, fakepop_violation(r->pop));
	outcome_release(&r->out);
	job_free(&j);
}

static void test_story(void **state)
{
	const struct story *s = *state;
	struct rig *r;
	unsigned n;
	size_t i;

	alarm(STORY_SECONDS);
	kit_open(&r);
	for (i = 0; i < STEPS && s->step[i].ledger; i++)
		play(r, s, i);
	n = fakeimap_copies(r->imap, NULL);
	if (n != s->copies)
		fail_msg("%s: %u messages at the destination, not %u", s->name, n,
			s->copies);
	kit_close(&r);
	alarm(0);
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[N_ELEMENTS(stories)];
	size_t i;

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	for (i = 0; i < N_ELEMENTS(stories); i++)
		tests[i] = (struct CMUnitTest){ stories[i].name, test_story, NULL, NULL,
			(void *)(uintptr_t)&stories[i] };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
