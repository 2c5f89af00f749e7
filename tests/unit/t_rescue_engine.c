/*
 * t_rescue_engine.c: servers that refuse, throttle, forget, rewrite and lie: what a
 * run makes of them, and what it tells.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sweep_kit.h"

enum { RUNS = 3, WAYS = 8, STORY_SECONDS = 60, STEPS_MAX = 400 };

#define HEAD \
	"Received: by relay.example; Mon, 1 Jan 2024 10:00:00 +0000\r\n" \
	"From: ann@example.org\r\nTo: bob@example.org\r\n" \
	"Date: Mon, 1 Jan 2024 10:00:00 +0000\r\n"

/* Letters that mean something else here than in the kit. */
static const struct {
	char letter;
	const char *text;
} odd[] = {
	{ 'w',
		HEAD
		"Bad Name: x\r\nSubject: w\r\nMessage-ID: <w@x>\r\n\r\nbody (w)\r\n" },
	{ 'x', HEAD "Subject: caf\xe9\r\nMessage-ID: <x@x>\r\n\r\nbody (x)\r\n" },
	/* One header, two texts. */
	{ 'y', HEAD "Subject: y\r\nMessage-ID: <y@x>\r\n\r\nthe one text (y)\r\n" },
	{ 'z', HEAD "Subject: y\r\nMessage-ID: <y@x>\r\n\r\nthe other text (z)\r\n" },
	{ 's',
		HEAD
		"Subject: s\r\nMessage-ID: <s@x>\r\n\r\ntabs\tand blanks  \r\nand\r\n" },
};

struct run {
	const char *say[WAYS]; /* to the IMAP server, before it */
	void (*before)(struct rig *r);
	const char *rescue; /* NULL: none */
	const char *options;
	int exit;
	const char *ledger;
	const char *reason;  /* part of that of a failed message */
	const char *notices; /* kinds in this run, as they came */
	int64_t ms;          /* it takes at least so long */
	bool blind;          /* no message was read back */
};

struct story {
	const char *name, *mail;
	struct run run[RUNS];
	const char *there;   /* messages that are at the server as they were */
	unsigned more;       /* and so many others, */
	const char *text;    /* one of which holds this */
	const char *archive; /* NULL: there is none */
};

static void lose_journal(struct rig *r)
{
	kit_remove(r->state);
}

#define BAD_HEADER "reject bad-header \"NO Message contains invalid header\""

static const struct story stories[] = {
	{ "refused, and no rescue", "awb",
		{ { { BAD_HEADER }, .exit = 2, .ledger = "3 listed, 2 stored, 1 failed",
			.reason =
				"invalid header); --rescue=repair or wrap may help" } },
		.there = "ab" },
	{ "repaired", "awb",
		{ { { BAD_HEADER }, .rescue = "repair", .ledger = "3 listed, 3 stored",
			  .notices = "repaired " },
			{ .ledger = "3 listed, 3 known" } },
		.there = "ab", .more = 1,
		.text = "X-Unparsable: Bad Name: x\r\nSubject: w\r\n" },
	{ "repaired: 8-bit header", "xab",
		{ { { "reject 8bit-header" }, .rescue = "repair, wrap",
			.ledger = "3 listed, 3 stored", .notices = "repaired " } },
		.there = "ab", .more = 1,
		.text = "Subject: =?unknown-8bit?B?Y2Fm6Q==?=\r\n" },
	{ "wrapped", "awb",
		{ { { BAD_HEADER }, .rescue = "wrap", .ledger = "3 listed, 3 stored",
			  .notices = "wrapped " },
			{ .ledger = "3 listed, 3 known" } },
		.there = "ab", .more = 1,
		.text = "Content-Type: application/octet-stream" },
	{ "repair does not help, wrapping does", "awb",
		{ { { "append~\"X-Unparsable\" tagged \"NO Invalid header\"",
			    BAD_HEADER },
			.rescue = "repair,wrap", .ledger = "3 listed, 3 stored",
			.notices = "wrapped " } },
		.there = "ab", .more = 1,
		.text = "Subject: w\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\n"
			"Message-ID: <w@x>\r\nMIME-Version" },
	{ "nothing helps", "abc",
		{ { { "append~\"letter (b)\" tagged \"NO [CANNOT] I dislike it\"" },
			.rescue = "repair,wrap", .exit = 2,
			.ledger = "3 listed, 2 stored, 1 failed",
			.reason = "[CANNOT] I dislike it)" } },
		.there = "ac" },
	{ "the archive has to do", "abc",
		{ { { "append~\"letter (b)\" tagged \"NO [CANNOT] I dislike it\"" },
			  .rescue = "wrap,archive", .options = "archive",
			  .ledger = "3 listed, 3 stored", .notices = "archive-only " },
			{ .rescue = "wrap,archive",
				.options = "archive",
				.ledger = "3 listed, 3 known",
				.notices = "archive-only " },
			{ { "well" }, .options = "archive",
				.ledger = "3 listed, 2 known, 1 stored" } },
		.there = "abc", .more = 0, .text = NULL, .archive = "abc" },
	{ "the archive could do", "abc",
		{ { { "append~\"letter (b)\" tagged \"NO [TOOBIG] no\"" },
			.options = "archive", .rescue = "wrap", .exit = 2,
			.ledger = "3 listed, 2 stored, 1 failed",
			.reason = "--rescue=archive may help" } },
		.there = "ac", .more = 0, .text = NULL, .archive = "abc" },
	{ "too large: not wrapped", "abc",
		{ { { "append~\"letter (b)\" tagged \"NO [TOOBIG] no\"" },
			.rescue = "repair,wrap", .exit = 2,
			.ledger = "3 listed, 2 stored, 1 failed",
			.reason = "over its limit" } },
		.there = "ac" },
	{ "a virus: not wrapped", "awb",
		{ { { "append~\"body (w)\" tagged \"NO refused, it contains a virus\"" },
			.rescue = "repair,wrap", .exit = 2,
			.ledger = "3 listed, 2 stored, 1 failed", .reason = "virus" } },
		.there = "ab" },
	{ "wrapped, and the OK is lost", "awb",
		{ { { BAD_HEADER, "append~\"popferry-\" commit=yes end=lost times=1" },
			.rescue = "wrap", .ledger = "3 listed, 3 stored",
			.notices = "wrapped " } },
		.there = "ab", .more = 1, .text = "application/octet-stream" },
	{ "wrapped, and lost", "awb",
		{ { { BAD_HEADER, "append~\"popferry-\" commit=no end=lost times=1" },
			.rescue = "wrap", .ledger = "3 listed, 3 stored",
			.notices = "wrapped " } },
		.there = "ab", .more = 1, .text = "application/octet-stream" },
	{ "forms without a journal", "awbx",
		{ { { BAD_HEADER, "append~\"caf\" tagged \"NO 8bit header\"" },
			  .rescue = "repair,wrap", .ledger = "4 listed, 4 stored",
			  .notices = "repaired repaired " },
			{ .before = lose_journal,
				.rescue = "repair,wrap",
				.ledger = "4 listed, 4 stored",
				.notices = "repaired repaired " } },
		.there = "ab", .more = 2, .text = "Subject: =?unknown-8bit?B?" },
	{ "wrapped without a journal, and not asked for now", "awb",
		{ { { BAD_HEADER }, .rescue = "wrap", .ledger = "3 listed, 3 stored",
			  .notices = "wrapped " },
			{ .before = lose_journal,
				.ledger = "3 listed, 3 stored",
				.notices = "wrapped " } },
		.there = "ab", .more = 1, .text = "application/octet-stream" },
	{ "throttled", "abc",
		{ { { "append tagged \"BAD Request is throttled. Suggested Backoff Time: "
		      "60 milliseconds\" times=2" },
			.ledger = "3 listed, 3 stored", .ms = 120, .blind = true } },
		.there = "abc" },
	{ "throttled behind a good one", "abc",
		{ { { "append tagged \"NO [LIMIT] slowly\" times=1 skip=1" },
			.ledger = "3 listed, 3 stored", .blind = true } },
		.there = "abc" },
	{ "throttled at login", "abc",
		{ { { "login reply \"NO Request is throttled. Suggested Backoff Time: 150 "
		      "milliseconds\" times=1" },
			.ledger = "3 listed, 3 stored", .ms = 150 } },
		.there = "abc" },
	{ "taken, but with less haste", "abc",
		{ { { "append[1] commit=yes tagged \"OK [APPENDUID 7 1] [THROTTLED] Suggested "
		      "Backoff Time: 150 milliseconds\"" },
			.ledger = "3 listed, 3 stored", .ms = 150 } },
		.there = "abc" },
	{ "the mailbox goes away", "abcd",
		{ { { "box Old", "vanish Old after=2" }, .options = "folder=Old",
			.ledger = "4 listed, 4 stored", .blind = true } },
		.there = "abcd" },
	{ "an OK for nothing", "abc",
		{ { { "append[2] commit=no tagged \"OK done\" times=1" },
			.ledger = "3 listed, 3 stored" } },
		.there = "abc" },
	{ "an OK for nothing, always", "abc",
		{ { { "append~\"letter (b)\" commit=no tagged \"OK done\"" }, .exit = 2,
			.ledger = "3 listed, 2 stored, 1 failed",
			.reason = "said twice that it has the message" } },
		.there = "ac" },
	{ "receipts that are never given", "abcdefgh",
		{ { { "uid none" }, .ledger = "8 listed, 8 stored" },
			{ .ledger = "8 listed, 8 known" } },
		.there = "abcdefgh" },
	{ "receipts that are wrong", "abcdefgh",
		{ { { "uid wrong" }, .ledger = "8 listed, 8 stored" },
			{ .ledger = "8 listed, 8 known" } },
		.there = "abcdefgh" },
	{ "rewritten: ws", "asb",
		{ { { "append~\"tabs\" commit=yes end=lost times=1 mutate=ws",
			    "capa = UIDPLUS LITERAL+" },
			.ledger = "3 listed, 3 stored",
			.notices = "altered-by-server " } },
		.there = "asb" },
	{ "rewritten: 8bitx", "axb",
		{ { { "append~\"caf\" commit=yes end=lost times=1 mutate=8bitx",
			    "capa = UIDPLUS LITERAL+" },
			.ledger = "3 listed, 3 stored",
			.notices = "altered-by-server " } },
		.there = "axb" },
	{ "rewritten: dropreceived", "asb",
		{ { { "append~\"tabs\" commit=yes end=lost times=1 mutate=dropreceived",
			    "capa = UIDPLUS LITERAL+" },
			.ledger = "3 listed, 3 stored",
			.notices = "altered-by-server " } },
		.there = "asb" },
	{ "rewritten: msgid", "asb",
		{ { { "append~\"tabs\" commit=yes end=lost times=1 mutate=msgid",
			    "capa = UIDPLUS LITERAL+" },
			.ledger = "3 listed, 3 stored",
			.notices = "altered-by-server " } },
		.there = "asb" },
	{ "rewritten: remime", "asb",
		{ { { "append~\"tabs\" commit=yes end=lost times=1 mutate=remime",
			    "capa = UIDPLUS LITERAL+" },
			.ledger = "3 listed, 3 stored",
			.notices = "altered-by-server " } },
		.there = "asb" },
	{ "rewritten: addheader", "asb",
		{ { { "append~\"tabs\" commit=yes end=lost times=1 mutate=addheader",
			    "capa = UIDPLUS LITERAL+" },
			.ledger = "3 listed, 3 stored",
			.notices = "altered-by-server " } },
		.there = "asb" },
	{ "one header, two texts, one lost", "yz",
		{ { { "append~\"(z)\" commit=no end=lost times=1", "capa = LITERAL+" },
			.ledger = "2 listed, 2 stored" } },
		.there = "yz" },
	{ "one header, two texts, both lost", "yz",
		{ { { "append~\"(y)\" commit=no end=lost times=1",
			    "append~\"(z)\" commit=yes end=lost times=1",
			    "capa = LITERAL+" },
			.ledger = "2 listed, 2 stored" } },
		.there = "yz" },
	{ "no dates", "abc",
		{ { { "reject date \"NO Invalid date\"" },
			.ledger = "3 listed, 3 stored",
			.notices = "date-dropped date-dropped date-dropped " } },
		.there = "abc" },
	{ "no flags", "ab",
		{ { { "reject flags \"NO Invalid flag list\"" }, .options = "seen=all",
			.ledger = "2 listed, 2 stored",
			.notices = "flags-dropped flags-dropped " } },
		.there = "ab" },
	{ "stored, and yet a fault", "abc",
		{ { { "append[2] commit=yes tagged \"NO [SERVERBUG] timeout\" times=1" },
			.ledger = "3 listed, 3 stored" } },
		.there = "abc" },
	{ "the quota is told before it is full", "abc",
		{ { { "capa +QUOTA",
			    "on GETQUOTAROOT untagged \"* QUOTA a (STORAGE 1 2)\" tagged \"OK done\"" },
			.ledger = "3 listed, 3 stored" } },
		.there = "abc" },
	{ "extensions that are refused", "abc",
		{ { { "capa +ID +NAMESPACE +QUOTA +APPENDLIMIT", "bad ID",
			    "bad NAMESPACE", "bad GETQUOTAROOT", "bad STATUS",
			    "bad SUBSCRIBE" },
			.options = "folder=Old", .ledger = "3 listed, 3 stored" } },
		.there = "abc" },
	{ "no ID, no mail", "abc",
		{ { { "capa +ID", "need id" }, .ledger = "3 listed, 3 stored" } },
		.there = "abc" },
	{ "too large for one mailbox", "ab",
		{ { { "capa +APPENDLIMIT", "appendlimit 300",
			    "maxmsg 300 \"NO [TOOBIG] no\"" },
			.exit = 2, .ledger = "2 listed, 2 failed",
			.reason = "over the limit of" } },
		.there = "" },
	{ "a mailbox to be read only", "ab",
		{ { { "select readonly" }, .exit = 73, .ledger = "2 listed, 2 left" } },
		.there = "" },
	{ "names without case", "abc",
		{ { { "names nocase", "create lower" }, .options = "folder=Archive",
			  .ledger = "3 listed, 3 stored" },
			{ .options = "folder=Archive",
				.ledger = "3 listed, 3 known" } },
		.there = "abc" },
	{ "no mailbox below another", "abc",
		{ { { "names depth 1" }, .options = "folder=Old/Mail",
			  .ledger = "3 listed, 3 stored" },
			{ .options = "folder=Old/Mail",
				.ledger = "3 listed, 3 known" } },
		.there = "abc" },
	{ "goodbye before the text", "abc",
		{ { { "literal refuse bye \"so long\" times=1" },
			.ledger = "3 listed, 3 stored" } },
		.there = "abc" },
	{ "goodbye behind the text", "abc",
		{ { { "append[2] commit=yes end=bye times=1" },
			.ledger = "3 listed, 3 stored" } },
		.there = "abc" },
	{ "what was stored is gone before it is looked for", "abc",
		{ { { "append[1] commit=yes end=lost times=1", "expunge 1 at=1" },
			.ledger = "3 listed, 3 stored" } },
		.there = "abc" },
	{ "full", "abc",
		{ { { "append[2] tagged \"NO Blocks limit exceeded\"" }, .exit = 73,
			.ledger = "3 listed, 1 stored, 2 left" } },
		.there = "a" },
};

/* ---- telling the server ---- */

/* Words are ended by blanks; quotes hold them together and stay away. */
static int split(char *line, char **argv, int max)
{
	char *p = line, *to;
	int argc = 0;
	bool quoted;

	while (*p) {
		while (*p == ' ')
			p++;
		if (!*p)
			break;
		assert_true(argc < max);
		argv[argc++] = to = p;
		for (quoted = false; *p && (quoted || *p != ' '); p++)
			if (*p == '"')
				quoted = !quoted;
			else
				*to++ = *p;
		if (*p)
			p++;
		*to = '\0';
	}
	return argc;
}

static void say(struct rig *r, const char *what)
{
	char *line = xstrdup(what), *argv[32], why[200];
	int argc = split(line, argv, 32);

	if (!fakeimap_say(r->imap, argc, argv, why, sizeof(why)))
		fail_msg("%s: %s", what, why);
	free(line);
}

/* ---- playing ---- */

static void add_odd(struct rig *r)
{
	size_t i;

	for (i = 0; i < N_ELEMENTS(odd); i++) {
		free((char *)(uintptr_t)r->texts[kit_index(odd[i].letter)]);
		r->texts[kit_index(odd[i].letter)] = xstrdup(odd[i].text);
	}
}

struct told {
	char kinds[400], reasons[2000];
};

static void add_kind(void *ctx, const struct journal_notice *n)
{
	struct told *t = ctx;
	size_t k = strlen(t->kinds);

	snprintf(t->kinds + k, sizeof(t->kinds) - k, "%s ", n->kind);
}

static void add_reason(void *ctx, const struct journal_failure *f)
{
	struct told *t = ctx;
	size_t k = strlen(t->reasons);

	snprintf(t->reasons + k, sizeof(t->reasons) - k, "%s\n", f->reason);
}

static void read_journal(struct rig *r, struct told *t)
{
	int dirfd = open(r->state, O_RDONLY | O_DIRECTORY);
	struct err err = ERR_INIT;
	struct journal *j;

	memset(t, 0, sizeof(*t));
	assert_int_equal(journal_open(&j, dirfd, NULL, true, &err), ST_OK);
	assert_int_equal(journal_notices(j, r->out.run, add_kind, t, &err), ST_OK);
	assert_int_equal(journal_failures(j, r->out.run, add_reason, t, &err), ST_OK);
	journal_close(&j);
	close(dirfd);
}

static int run_once(struct rig *r, const struct run *run)
{
	const struct pace pace = kit_pace();
	struct job *j = kit_job(r, run->options);
	struct engine *e;
	int code;

	if (run->rescue)
		kit_set(j, "rescue", run->rescue);
	engine_new(&e, j, NULL);
	engine_pace(e, &pace);
	code = engine_run(e, &r->out);
	kit_ledger(&r->out.ledger, r->ledger, sizeof(r->ledger));
	engine_free(&e);
	job_free(&j);
	return code;
}

struct searched {
	const char *text;
	bool found;
};

static void search(void *ctx, const char *box, const char *text, size_t n)
{
	struct searched *s = ctx;

	(void)box;
	s->found |= memmem(text, n, s->text, strlen(s->text)) != NULL;
}

static void check_there(struct rig *r, const struct story *s)
{
	struct searched found = { s->text, !s->text };
	const char *p;
	unsigned n;

	for (p = s->there; *p; p++)
		if ((n = fakeimap_copies(r->imap, kit_text(r, *p))) != 1)
			fail_msg("%s: %u copies of (%c)", s->name, n, *p);
	n = fakeimap_copies(r->imap, NULL);
	if (n != strlen(s->there) + s->more)
		fail_msg("%s: %u messages in all", s->name, n);
	if (s->text)
		fakeimap_each(r->imap, search, &found);
	if (!found.found)
		fail_msg("%s: none with %s", s->name, s->text);
	if (fakeimap_has(r->imap, "pwned"))
		fail_msg("%s: mail was carried out as commands", s->name);
	if (s->archive)
		kit_expect_archive(r, s->name, s->archive);
}

/* Nothing was looked for: none was in doubt. */
static void expect_blind(struct rig *r, const char *name)
{
	char never[] = "never-said", fetch[] = "UID FETCH", *argv[] = { never, fetch };
	char why[200];

	if (!fakeimap_expect(r->imap, 2, argv, why, sizeof(why)))
		fail_msg("%s: %s", name, why);
}

static void play(struct rig *r, const struct story *s)
{
	size_t i, k;

	for (i = 0; i < RUNS && s->run[i].ledger; i++) {
		const struct run *run = &s->run[i];
		struct told told;
		int code;

		for (k = 0; k < WAYS && run->say[k]; k++)
			say(r, run->say[k]);
		if (run->before)
			run->before(r);
		code = run_once(r, run);
		if (code != run->exit || strcmp(r->ledger, run->ledger) != 0)
			fail_msg("%s, run %zu: exit %d (%s), %s; not %d, %s", s->name,
				i + 1, code, r->out.err.text, r->ledger, run->exit,
				run->ledger);
		read_journal(r, &told);
		if (strcmp(told.kinds, run->notices ? run->notices : "") != 0)
			fail_msg("%s, run %zu: told: %s", s->name, i + 1, told.kinds);
		if (run->reason && !strstr(told.reasons, run->reason))
			fail_msg("%s, run %zu: %s", s->name, i + 1, told.reasons);
		if (r->out.elapsed_ms < run->ms)
			fail_msg("%s, run %zu: only %d ms", s->name, i + 1,
				(int)r->out.elapsed_ms);
		if (run->blind)
			expect_blind(r, s->name);
	}
	check_there(r, s);
}

static void test_story(void **state)
{
	const struct story *s = *state;
	struct rig *r;

	alarm(STORY_SECONDS);
	sweep_open(&r);
	add_odd(r);
	kit_mail(r, s->mail);
	play(r, s);
	sweep_close(&r);
	alarm(0);
}

/* ---- killed at every step ---- */

static struct zygote *zygote;

static void test_killed(void **state)
{
	static const char *const forms[] = { "rescue=repair", "rescue=wrap" };
	static const struct story ends = { .there = "ab", .more = 1 };
	bool killed = true;
	struct rig *r;
	size_t k;
	int n;

	(void)state;
	for (k = 0; k < N_ELEMENTS(forms); k++) {
		for (n = 1, killed = true; killed; n++) {
			const struct sweep_run dies = {
				.settle_ms = 1, .crash_at = n, .options = forms[k]
			};
			const struct sweep_run lives = { .settle_ms = 1,
				.options = forms[k] };
			int code;

			assert_true(n < STEPS_MAX);
			alarm(STORY_SECONDS);
			sweep_open(&r);
			add_odd(r);
			kit_mail(r, "awb");
			say(r, BAD_HEADER);
			code = sweep_apart(zygote, r, &dies);
			killed = code < 0;
			if (code > 0)
				fail_msg("%s, step %d: exit %d", forms[k], n, code);
			code = sweep_here(r, &lives);
			if (code)
				fail_msg("%s, step %d: then exit %d (%s)", forms[k], n,
					code, r->out.err.text);
			check_there(r, &ends);
			sweep_close(&r);
		}
		assert_true(n > 10);
	}
	alarm(0);
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[N_ELEMENTS(stories) + 1];
	size_t i;
	int rc;

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	sweep_dir();
	sweep_quiet();
	zygote_open(&zygote, sweep_child);
	for (i = 0; i < N_ELEMENTS(stories); i++)
		tests[i] = (struct CMUnitTest){ stories[i].name, test_story, NULL, NULL,
			(void *)(uintptr_t)&stories[i] };
	tests[i] = (struct CMUnitTest)cmocka_unit_test(test_killed);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	zygote_close(&zygote);
	return rc;
}
