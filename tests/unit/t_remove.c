/*
 * t_remove.c: deleting at the source: only what is safe, whatever happens on the way.
 *
 * Letters are the messages (see engine_kit.h).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sweep_kit.h"

static struct zygote *zygote;
static struct rig *rig;

static int set_up(void **state)
{
	(void)state;
	sweep_open(&rig);
	sweep_quiet();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	sweep_close(&rig);
	return 0;
}

static int run(const char *options)
{
	const struct sweep_run s = { .options = options };
	int code;

	fakepop_mark(rig->pop);
	code = sweep_here(rig, &s);
	if (fakepop_violation(rig->pop))
		fail_msg("%s", fakepop_violation(rig->pop));
	return code;
}

/* What is in the maildrop, as letters. */
static const char *drop(void)
{
	static char out[64];
	unsigned n, total = fakepop_messages(rig->pop);
	size_t k = 0, len;
	const char *text, *mark;

	for (n = 1; n <= total && k + 1 < sizeof(out); n++) {
		if (!fakepop_holds(rig->pop, n))
			continue;
		text = fakepop_text(rig->pop, n, &len);
		mark = memmem(text, len, "This is (", 9);
		out[k++] = mark ? mark[9] : '-';
	}
	out[k] = '\0';
	return out;
}

static void expect(const char *options, int code, const char *left, unsigned deleted)
{
	int got = run(options);

	if (got != code)
		fail_msg("%s: exit %d (%s), not %d", options, got, rig->out.err.text,
			code);
	assert_string_equal(drop(), left);
	assert_int_equal(rig->out.ledger.deleted, deleted);
}

/* ---- what may go ---- */

static void test_all(void **state)
{
	(void)state;
	kit_mail(rig, "abc0!A");
	expect("archive delete=verified", 0, "", 6);
	assert_int_equal(rig->out.ledger.delete_left, 0);
	kit_expect(rig, "all", "abc0!A");
	kit_expect_archive(rig, "all", "abc0!A");
	/* Nothing suspicious in an empty maildrop now. */
	expect("archive delete=verified", 0, "", 0);
	kit_expect(rig, "all", "abc0!A");
}

static void test_not_asked(void **state)
{
	(void)state;
	kit_mail(rig, "abc");
	/* What the same run copies may go with it, but not with an age. */
	expect("dry-run=yes delete=verified", 0, "abc", 0);
	assert_int_equal(rig->out.plan.deletable, 3);
	expect("dry-run=yes delete=verified max-delete=2", 0, "abc", 0);
	assert_int_equal(rig->out.plan.deletable, 2);
	expect("dry-run=yes delete=verified limit=1", 0, "abc", 0);
	assert_int_equal(rig->out.plan.deletable, 1);
	expect("dry-run=yes delete=verified:1d", 0, "abc", 0);
	assert_int_equal(rig->out.plan.deletable, 0);
	expect("", 0, "abc", 0);
	kit_mail(rig, "abcde");
	expect("dry-run=yes delete=verified", 0, "abcde", 0);
	assert_int_equal(rig->out.plan.deletable, 5);
	kit_mail(rig, "abc");
	expect("dry-run=yes delete=verified", 0, "abc", 0);
	assert_int_equal(rig->out.plan.deletable, 3);
	assert_int_equal(fakepop_count(rig->pop, "DELE"), 0);
	expect("dry-run=yes delete=verified:1d", 0, "abc", 0);
	assert_int_equal(rig->out.plan.deletable, 0);
}

static void test_age(void **state)
{
	(void)state;
	kit_mail(rig, "abc");
	expect("delete=verified:1d", 0, "abc", 0);
	assert_int_equal(fakepop_count(rig->pop, "DELE"), 0);
	expect("delete=verified", 0, "", 3);
}

static void test_limit(void **state)
{
	(void)state;
	kit_mail(rig, "abcdefgh");
	expect("delete=verified max-delete=3", 0, "defgh", 3);
	assert_int_equal(rig->out.ledger.delete_left, 5);
	expect("delete=verified max-delete=3", 0, "gh", 3);
	expect("delete=verified max-delete=3", 0, "", 2);
	kit_expect(rig, "limit", "abcdefgh");
}

/* It agrees and is slow to delete: no more are asked for than may go. */
static void test_limit_of_asking(void **state)
{
	(void)state;
	kit_mail(rig, "abcdefgh");
	expect("", 0, "abcdefgh", 0);
	sweep_say(rig, true, "dele ignored");
	expect("delete=verified max-delete=3", 0, "abcdefgh", 0);
	assert_int_equal(fakepop_count(rig->pop, "DELE"), 6); /* two tries each */
	/* Those that are refused are not counted. */
	sweep_say(rig, true, "dele ok");
	sweep_say(rig, true, "on DELE#1 reply -ERR_no times=1");
	expect("delete=verified max-delete=3", 0, "abcgh", 3);
	expect("dry-run=yes delete=verified max-delete=1", 0, "abcgh", 0);
	assert_int_equal(rig->out.plan.deletable, 1);
}

/* The last look at the source failed: what was listed before may go even so. */
static void test_second_look(void **state)
{
	(void)state;
	kit_mail(rig, "abc");
	sweep_say(rig, true, "session 2 on LIST drop times=1");
	expect("delete=verified", 0, "", 3);
}

static void test_duplicates(void **state)
{
	(void)state;
	/* Equal ones are one; a twin by Message-ID alone is not. */
	kit_mail(rig, "aaAb");
	expect("dedup=message-id-only delete=verified", 0, "A", 3);
	kit_expect(rig, "duplicates", "ab");
	kit_mail(rig, "ab");
	expect("delete=verified:1d", 0, "ab", 0);
}

static void test_filtered(void **state)
{
	(void)state;
	kit_mail(rig, "ab");
	expect("before=2001-01-01 delete=verified", 0, "ab", 0);
	assert_int_equal(fakepop_count(rig->pop, "DELE"), 0);
}

static void test_failed(void **state)
{
	(void)state;
	kit_mail(rig, "abc");
	sweep_say(rig, false, "append~(b) tagged NO_[CANNOT]_no");
	expect("archive delete=verified", EX_PARTIAL, "b", 2);
	/* It is in the archive alone. */
	kit_expect_archive(rig, "failed", "abc");
	kit_expect(rig, "failed", "ac");
	sweep_say(rig, false, "well");
	expect("archive delete=verified", 0, "", 1);
	kit_expect(rig, "failed", "abc");
}

static void test_changed(void **state)
{
	(void)state;
	kit_mail(rig, "abc");
	sweep_say(rig, false, "capa -MULTIAPPEND");
	sweep_say(rig, false, "append~(b) mutate=addheader");
	expect("archive delete=verified", EX_PARTIAL, "b", 2);
	expect("archive delete=verified", EX_PARTIAL, "b", 0);
}

/* Gone there: it stays at the source, whether it was verified once or not. */
static void test_gone(void **state)
{
	(void)state;
	kit_mail(rig, "abcd");
	expect("", 0, "abcd", 0);
	sweep_say(rig, false, "expunge 2");
	expect("delete=verified:1d", EX_PARTIAL, "abcd", 0);
	sweep_say(rig, false, "expunge 1"); /* a, which is verified now */
	expect("delete=verified", EX_PARTIAL, "ab", 2);
	kit_expect(rig, "gone", "cd");
}

/* What the IMAP side has is not quite what came: it may go when an archive has that. */
static void test_repaired(void **state)
{
	(void)state;
	kit_mail(rig, "abc");
	sweep_say(rig, true, "retr.2 latin1");
	sweep_say(rig, false, "reject 8bit-header");
	assert_int_equal(run("rescue=repair delete=verified"), 0);
	assert_string_equal(drop(), "l");
	assert_int_equal(fakeimap_copies(rig->imap, NULL), 3);
	assert_int_equal(run("archive rescue=repair delete=verified"), 0);
	assert_string_equal(drop(), "");
	assert_int_equal(fakeimap_copies(rig->imap, NULL), 3);
}

static void test_repeated_uidls(void **state)
{
	(void)state;
	fakepop_empty(rig->pop);
	fakepop_add(rig->pop, "same", kit_text(rig, 'a'));
	fakepop_add(rig->pop, "same", kit_text(rig, 'b'));
	fakepop_add(rig->pop, "own", kit_text(rig, 'c'));
	expect("delete=verified", 0, "ab", 1);
	kit_expect(rig, "repeated", "abc");
}

static void test_uidls_without_meaning(void **state)
{
	(void)state;
	kit_mail(rig, "abc");
	sweep_say(rig, true, "uidl number");
	expect("dry-run=yes delete=verified", 0, "abc", 0);
	assert_int_equal(rig->out.plan.deletable, 0);
	expect("delete=verified", 0, "abc", 0);
	sweep_say(rig, true, "uidl off");
	expect("delete=verified", 0, "abc", 0);
	assert_int_equal(fakepop_count(rig->pop, "DELE"), 0);
	kit_expect(rig, "numbers", "abc");
	/* One that happens to be its number. */
	fakepop_empty(rig->pop);
	sweep_say(rig, true, "uidl normal");
	fakepop_add(rig->pop, "x", kit_text(rig, 'a'));
	fakepop_add(rig->pop, "2", kit_text(rig, 'b'));
	fakepop_add(rig->pop, "z", kit_text(rig, 'c'));
	expect("delete=verified", 0, "b", 2);
}

/* A number that LIST says now is not that of the message we know. */
static void test_size(void **state)
{
	(void)state;
	kit_mail(rig, "abc");
	expect("", 0, "abc", 0);
	sweep_say(rig, true, "session 2 list.2 99");
	expect("delete=verified", 0, "b", 2);
}

/* ---- what is not what it was ---- */

/* The maildrop holds a, b and c; b's text has `from` changed to `to`, and its UIDL has
 * not. */
static void put_other(const char *from, const char *to)
{
	char *text = xstrdup(kit_text(rig, 'b')), *at, *other;

	fakepop_empty(rig->pop);
	at = strstr(text, from);
	assert_non_null(at);
	*at = '\0';
	other = xasprintf("%s%s%s", text, to, at + strlen(from));
	fakepop_add(rig->pop, "u1", kit_text(rig, 'a'));
	fakepop_add(rig->pop, "u2", other);
	fakepop_add(rig->pop, "u3", kit_text(rig, 'c'));
	free(other);
	free(text);
}

/* A UIDL given to another message of the same size: it is looked at before it goes. */
static void test_reused(void **state)
{
	(void)state;
	kit_mail(rig, "abc");
	expect("", 0, "abc", 0);
	put_other("letter-b@", "letter-x@");
	expect("delete=verified", EX_PARTIAL, "b", 2);
	assert_int_equal(rig->out.ledger.failed, 1);
	/* And then it is fetched as what it is. */
	expect("delete=verified", 0, "", 1);
	assert_int_equal(rig->out.ledger.stored, 1);
	assert_int_equal(fakeimap_copies(rig->imap, NULL), 4);
}

/* The same header, and another text: what is stored is not what is there now. */
static void test_rewritten(void **state)
{
	static const char *const ways[][2] = { { "end", "END" }, { "end", "the end" } };
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(ways); i++) {
		kit_mail(rig, "abc");
		expect("", 0, "abc", 0);
		put_other(ways[i][0], ways[i][1]);
		expect("delete=verified", 0, "b", 2);
		expect("delete=verified", 0, "b", 0);
		assert_int_equal(fakeimap_copies(rig->imap, NULL), 3);
		sweep_close(&rig);
		sweep_open(&rig);
	}
}

/* A server that writes a message anew each time: nothing goes. */
static void test_rerendered(void **state)
{
	(void)state;
	kit_mail(rig, "ab");
	sweep_say(rig, true,
		"retr.2 sameas=2 header=Content-Type:_multipart/mixed;_boundary=x");
	expect("", 0, "ab", 0);
	sweep_say(rig, true, "session 2 rerender on");
	run("delete=verified");
	assert_int_equal(fakeimap_copies(rig->imap, NULL), 2);
}

/* The source is the destination: what is deleted there is gone here, too. */
static void take_away(void *ctx, enum fakepop_event what)
{
	char verb[] = "expunge", one[] = "1", why[100];
	char *argv[] = { verb, one };

	(void)what;
	fakeimap_say(ctx, 2, argv, why, sizeof(why));
}

static void expect_kept(const char *name)
{
	char *path = xasprintf("%s/%s", rig->state, name);

	assert_int_equal(access(path, R_OK), 0);
	free(path);
}

/* Why the run ended, with the state directory between the two. */
static void expect_reason(const char *before, const char *after)
{
	char *end = xasprintf("%s%s%s", before, rig->state, after);
	const char *why = rig->out.err.text;
	size_t n = strlen(why), k = strlen(end);

	if (n < k || strcmp(why + n - k, end) != 0)
		fail_msg("\"%s\" does not end in \"%s\"", why, end);
	free(end);
}

static void test_one_mailbox(void **state)
{
	(void)state;
	kit_mail(rig, "abcdef");
	expect("", 0, "abcdef", 0);
	fakepop_on_event(rig->pop, take_away, rig->imap);
	sweep_say(rig, true, "on DELE stop times=99");
	expect("delete=verified", EX_PARTIAL, "bcdef", 1);
	kit_expect(rig, "one mailbox", "bcdef");
	/* Not even that one is lost. */
	expect_kept("kept-1.eml");
	expect_reason("; 1 message is kept in ", ", as kept-1.eml");
}

/* In which each folder of it has its own. */
static void take_from_both(void *ctx, enum fakepop_event what)
{
	static const char *const boxes[] = { "box=One", "box=Two" };
	static size_t n;
	char verb[] = "expunge", one[] = "1", box[10], why[100];
	char *argv[] = { verb, one, box };

	(void)what;
	snprintf(box, sizeof(box), "%s", boxes[n++ % 2]);
	fakeimap_say(ctx, 3, argv, why, sizeof(why));
}

static void test_two_folders(void **state)
{
	(void)state;
	kit_mail(rig, "abcd");
	expect("folder=One limit=2", EX_PARTIAL, "abcd", 0);
	expect("folder=Two", 0, "abcd", 0);
	fakepop_on_event(rig->pop, take_from_both, rig->imap);
	sweep_say(rig, true, "on DELE stop times=99");
	expect("folder=Two delete=verified", EX_PARTIAL, "bd", 2);
	expect_kept("kept-1.eml");
	expect_kept("kept-3.eml");
	expect_reason("; 2 messages are kept in ", ", as kept-*.eml");
}

/* Of equal ones the other would be there all the same: the first that has no twin
 * goes. */
static void test_probe_without_twin(void **state)
{
	(void)state;
	kit_mail(rig, "aabc");
	expect("", 0, "aabc", 0);
	expect("delete=verified max-delete=1", 0, "aac", 1);
	expect("delete=verified", 0, "", 3);
}

/* Where all have one they go, too. */
static void test_nothing_but_twins(void **state)
{
	(void)state;
	kit_mail(rig, "aaaaa");
	expect("dedup=none delete=verified", 0, "", 5);
	kit_expect(rig, "twins", "aaaaa");
	kit_mail(rig, "bbb");
	expect("delete=verified", 0, "", 3);
}

/* Where it is well once, nobody is asked again. */
static void test_outlives(void **state)
{
	(void)state;
	kit_mail(rig, "abc");
	expect("archive delete=verified", 0, "", 3);
	assert_int_equal(fakepop_sessions(rig->pop), 5);
	kit_mail(rig, "def");
	expect("archive delete=verified", 0, "", 3);
	assert_int_equal(fakepop_sessions(rig->pop), 4);
}

/* ---- servers ---- */

static void test_ignored(void **state)
{
	(void)state;
	kit_mail(rig, "abc");
	sweep_say(rig, true, "dele ignored");
	expect("delete=verified", 0, "abc", 0);
	assert_int_equal(rig->out.ledger.delete_left, 3);
	assert_int_equal(fakepop_count(rig->pop, "DELE"), 6); /* two tries each */
	expect("delete=verified", 0, "abc", 0);
	/* The last answer of all is seen by nobody. */
	assert_int_equal(fakepop_count(rig->pop, "DELE"), 7);
	expect("delete=verified", 0, "abc", 0);
	assert_int_equal(fakepop_count(rig->pop, "DELE"), 7); /* and never again */
	kit_expect(rig, "ignored", "abc");
}

static void test_partial(void **state)
{
	(void)state;
	kit_mail(rig, "abcde");
	expect("", 0, "abcde", 0);
	sweep_say(rig, true, "dele partial=2");
	run("delete=verified");
	sweep_say(rig, true, "dele ok");
	assert_int_equal(run("delete=verified"), 0);
	assert_string_equal(drop(), "");
	kit_expect(rig, "partial", "abcde");
}

static void test_refused(void **state)
{
	(void)state;
	kit_mail(rig, "abc");
	sweep_say(rig, true, "on DELE:2 reply -ERR_no");
	expect("delete=verified", 0, "b", 2);
	assert_int_equal(rig->out.ledger.delete_left, 1);
}

static void test_lost_sessions(void **state)
{
	(void)state;
	kit_mail(rig, "abcdefgh");
	expect("", 0, "abcdefgh", 0);
	sweep_say(rig, true, "on DELE#4 drop times=2");
	assert_int_equal(run("delete=verified"), 0);
	assert_string_equal(drop(), "");
	kit_expect(rig, "lost sessions", "abcdefgh");
}

/* Sessions that live for few messages: smaller batches get through. */
static void test_short_sessions(void **state)
{
	(void)state;
	kit_mail(rig, "abcdefgh");
	expect("", 0, "abcdefgh", 0);
	sweep_say(rig, true, "after 3 RETR drop");
	expect("delete=verified", 0, "", 8);
}

/* One that ends every session does not keep the others. */
static void test_poison(void **state)
{
	(void)state;
	kit_mail(rig, "abcde");
	expect("", 0, "abcde", 0);
	sweep_say(rig, true, "retr.2 sameas=2 cut=40");
	assert_int_equal(run("delete=verified"), 0);
	assert_int_equal(rig->out.ledger.deleted, 4);
	assert_int_equal(rig->out.ledger.delete_left, 1);
	assert_true(fakepop_holds(rig->pop, 2));
}

/* It never says yes and never deletes: that has an end. */
static void test_quit_refused(void **state)
{
	(void)state;
	kit_mail(rig, "abc");
	expect("", 0, "abc", 0);
	sweep_say(rig, true, "on QUIT reply -ERR_not_now");
	expect("delete=verified", EX_TEMPFAIL, "abc", 0);
	sweep_say(rig, true, "well");
	expect("delete=verified", 0, "", 3);
}

/* A profile says how many a session may delete. */
static void test_batches(void **state)
{
	(void)state;
	kit_mail(rig, "abcdefgh");
	expect("", 0, "abcdefgh", 0);
	{
		const struct sweep_run s = { .options = "delete=verified" };
		struct job *j = sweep_job(rig, &s);
		struct pace pace = sweep_pace(&s);
		struct engine *e;

		j->source.pop3.delete_batch = 3;
		fakepop_mark(rig->pop);
		engine_new(&e, j, NULL);
		engine_pace(e, &pace);
		assert_int_equal(engine_run(e, &rig->out), 0);
		engine_free(&e);
		job_free(&j);
	}
	assert_string_equal(drop(), "");
	/* The run's own, the probe's, three that delete, and one that looks. */
	assert_int_equal(fakepop_sessions(rig->pop), 6);
}

/* ---- dying on the way ---- */

struct way {
	const char *name, *words, *then; /* then: said before the last runs */
	const char *left;                /* at the end */
	bool fresh;                      /* nothing was copied before */
};

/* Everything is in the maildrop, or in all destinations. */
static void check_safe(const struct way *w, int step, const char *mail, bool begun)
{
	const char *p, *have = drop();

	for (p = mail; *p; p++)
		if (!strchr(have, *p) &&
			fakeimap_copies(rig->imap, kit_text(rig, *p)) != 1)
			fail_msg("%s, step %d: (%c) is nowhere", w->name, step, *p);
	/* While all is at the source the rest is another test's affair. */
	if (begun && strcmp(have, mail) == 0)
		return;
	kit_expect(rig, w->name, mail);
	kit_expect_archive(rig, w->name, mail);
}

static bool killed_at(const struct way *w, int step)
{
	static const char mail[] = "abcde";
	const struct sweep_run first = { .options = "archive" };
	const struct sweep_run s = { .options = "archive delete=verified",
		.crash_at = step };
	int code;

	sweep_open(&rig);
	kit_mail(rig, mail);
	if (!w->fresh)
		assert_int_equal(sweep_here(rig, &first), 0);
	sweep_say(rig, true, w->words);
	code = sweep_apart(zygote, rig, &s);
	check_safe(w, step, mail, w->fresh);
	sweep_say(rig, true, w->then);
	run(s.options);
	if (run(s.options) != 0)
		fail_msg("%s, step %d: %s", w->name, step, rig->out.err.text);
	check_safe(w, step, mail, false);
	if (strcmp(drop(), w->left) != 0)
		fail_msg("%s, step %d: left are \"%s\"", w->name, step, drop());
	assert_int_equal(rig->out.ledger.stored, 0);
	sweep_close(&rig);
	return code < 0;
}

static void test_killed(void **state)
{
	static const struct way ways[] = {
		{ "good", "dele ok", "dele ok", "", false },
		{ "good from the start", "dele ok", "dele ok", "", true },
		{ "QUIT is refused", "on QUIT reply -ERR_no times=3", "well", "",
			false },
		{ "QUIT is lost", "on QUIT drop times=3", "well", "", false },
		{ "QUIT is done and lost", "on QUIT drop done times=3", "well", "",
			false },
		{ "ignored", "dele ignored", "dele ignored", "abcde", false },
		{ "partial", "dele partial=2", "dele ok", "", false },
		{ "dropped", "on DELE#3 drop times=2", "well", "", false },
	};
	const int stride = getenv("FULL") ? 1 : 3 * stride_of(3);
	size_t i;
	int step;

	(void)state;
	for (i = 0; i < N_ELEMENTS(ways); i++) {
		for (step = 1 + (int)i % stride; killed_at(&ways[i], step);
			step += stride)
			;
		assert_true(step > 10); /* there was something to die at */
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_all),
		TEST(test_not_asked),
		TEST(test_age),
		TEST(test_limit),
		TEST(test_limit_of_asking),
		TEST(test_second_look),
		TEST(test_duplicates),
		TEST(test_filtered),
		TEST(test_failed),
		TEST(test_changed),
		TEST(test_gone),
		TEST(test_repaired),
		TEST(test_repeated_uidls),
		TEST(test_uidls_without_meaning),
		TEST(test_size),
		TEST(test_reused),
		TEST(test_rewritten),
		TEST(test_rerendered),
		TEST(test_one_mailbox),
		TEST(test_two_folders),
		TEST(test_probe_without_twin),
		TEST(test_nothing_but_twins),
		TEST(test_outlives),
		TEST(test_ignored),
		TEST(test_partial),
		TEST(test_refused),
		TEST(test_lost_sessions),
		TEST(test_short_sessions),
		TEST(test_poison),
		TEST(test_quit_refused),
		TEST(test_batches),
		cmocka_unit_test(test_killed),
	};
	int rc;

	sweep_dir();
	zygote_open(&zygote, sweep_child);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	zygote_close(&zygote);
	return rc;
}
