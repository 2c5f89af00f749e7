/* t_verify.c: what was stored is read back: as it was, changed, gone, lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sweep_kit.h"

static struct rig *rig;
static struct verification v;
static char found[2000];  /* "kind place uidl; ..." */
static char meaning[200]; /* of the last */

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
	free(v.account);
	v.account = NULL;
	sweep_close(&rig);
	return 0;
}

static int copy(const char *options)
{
	const struct sweep_run s = { .options = options };

	return sweep_here(rig, &s);
}

static void note(void *ctx, const struct finding *f)
{
	size_t n = strlen(found);

	(void)ctx;
	snprintf(found + n, sizeof(found) - n, "%s%s %s %.*s", n ? "; " : "", f->kind,
		strncmp(f->dest, "imap", 4) == 0 ? "imap" : "archive", (int)f->uidl_n,
		f->uidl ? f->uidl : "");
	snprintf(meaning, sizeof(meaning), "%s", f->text);
}

static int check(const char *options)
{
	const struct sweep_run s = { .options = options };
	struct job *j = sweep_job(rig, &s);
	struct pace pace = sweep_pace(&s);
	struct engine *e;
	int code;

	found[0] = '\0';
	free(v.account);
	engine_new(&e, j, NULL);
	engine_pace(e, &pace);
	code = engine_verify(e, &v, note, NULL);
	engine_free(&e);
	job_free(&j);
	return code;
}

static void expect(size_t k, unsigned verified, unsigned changed, unsigned missing,
	unsigned unknown)
{
	const struct checked *c = &v.dest[k];

	if (c->verified != verified || c->changed != changed || c->missing != missing ||
		c->unknown != unknown)
		fail_msg("destination %zu: %llu verified, %llu changed, %llu missing, "
			 "%llu unknown (%s)",
			k, (unsigned long long)c->verified,
			(unsigned long long)c->changed, (unsigned long long)c->missing,
			(unsigned long long)c->unknown, v.err.text);
}

static void test_good(void **state)
{
	(void)state;
	kit_mail(rig, "abc0!A@");
	assert_int_equal(copy("archive"), 0);
	assert_int_equal(check("archive"), 0);
	expect(0, 7, 0, 0, 0);
	expect(1, 7, 0, 0, 0);
	assert_string_equal(found, "");
	assert_string_equal(v.account, "pop3:u@127.0.0.1");
	/* Again, and only one of them. */
	assert_int_equal(check(""), 0);
	expect(0, 7, 0, 0, 0);
}

/* Nothing was ever stored, or not there. */
static void test_nothing(void **state)
{
	(void)state;
	assert_int_equal(check("archive"), EX_USAGE);
	kit_mail(rig, "a");
	assert_int_equal(copy(""), 0);
	assert_int_equal(check("archive"), EX_USAGE);
	assert_non_null(strstr(v.err.text, "knows nothing of archive:"));
	assert_int_equal(check(""), 0);
}

/* Servers that change line ends are forgiven; others are told. */
static void test_changed(void **state)
{
	(void)state;
	kit_mail(rig, "abc");
	sweep_say(rig, false, "capa -MULTIAPPEND");
	sweep_say(rig, false, "append~(b) mutate=lf");
	sweep_say(rig, false, "append~(c) mutate=addheader");
	assert_int_equal(copy(""), 0);
	assert_int_equal(check(""), EX_DATAERR);
	expect(0, 2, 1, 0, 0);
	assert_string_equal(found, "changed-there imap u3");
	/* And it stays so: nothing is sent again. */
	sweep_say(rig, false, "well");
	assert_int_equal(copy(""), 0);
	assert_int_equal(fakeimap_copies(rig->imap, NULL), 3);
	assert_int_equal(check(""), EX_DATAERR);
}

static void test_gone(void **state)
{
	(void)state;
	kit_mail(rig, "abc");
	assert_int_equal(copy(""), 0);
	sweep_say(rig, false, "expunge 2");
	assert_int_equal(check(""), EX_DATAERR);
	expect(0, 2, 0, 1, 0);
	assert_string_equal(found, "gone-there imap u2");
	/* Somebody deleted it: it is not sent again (quirk Q121). */
	assert_int_equal(copy(""), 0);
	assert_string_equal(rig->ledger, "3 listed, 3 known");
	kit_expect(rig, "gone", "ac");
	/* The same of one that was verified. */
	sweep_say(rig, false, "expunge 1");
	assert_int_equal(check(""), EX_DATAERR);
	expect(0, 1, 0, 2, 0);
	assert_int_equal(copy(""), 0);
	kit_expect(rig, "gone", "c");
}

/* A server that went back in time never gave out those numbers. */
static void test_lost(void **state)
{
	(void)state;
	kit_mail(rig, "abc");
	assert_int_equal(copy(""), 0);
	fakeimap_forget(rig->imap);
	assert_int_equal(check(""), EX_DATAERR);
	expect(0, 0, 0, 3, 0);
	assert_string_equal(
		found, "gone-there imap u1; gone-there imap u2; gone-there imap u3");
	/* Asked again, it is not all there for that. */
	assert_int_equal(check(""), EX_DATAERR);
	expect(0, 0, 0, 0, 3);
	assert_string_equal(
		found, "in-doubt imap u1; in-doubt imap u2; in-doubt imap u3");
	assert_int_equal(copy(""), 0);
	assert_string_equal(rig->ledger, "3 listed, 3 stored");
	kit_expect(rig, "lost", "abc");
	assert_int_equal(check(""), 0);
	expect(0, 3, 0, 0, 0);
	/* What was verified is not sent again, whatever the server says. */
	fakeimap_forget(rig->imap);
	assert_int_equal(check(""), EX_DATAERR);
	expect(0, 0, 0, 3, 0);
	assert_non_null(strstr(meaning, "it is not sent again"));
	assert_int_equal(copy(""), 0);
	assert_string_equal(rig->ledger, "3 listed, 3 known");
}

/* No UIDPLUS, or another UIDVALIDITY: found by what they are. */
/* A receipt that lies: the message is there under another number (quirk Q114). */
static void test_wrong_places(void **state)
{
	(void)state;
	kit_mail(rig, "abc");
	sweep_say(rig, false, "uid wrong");
	assert_int_equal(copy(""), 0);
	assert_int_equal(check(""), 0);
	expect(0, 3, 0, 0, 0);
	assert_int_equal(copy(""), 0);
	assert_string_equal(rig->ledger, "3 listed, 3 known");
	kit_expect(rig, "wrong places", "abc");
	/* Now they are known where they are. */
	sweep_say(rig, false, "expunge 2");
	assert_int_equal(check(""), EX_DATAERR);
	expect(0, 2, 0, 1, 0);
}

static void test_without_places(void **state)
{
	(void)state;
	kit_mail(rig, "abb0A");
	sweep_say(rig, false, "capa -UIDPLUS");
	fakeimap_put(rig->imap, "INBOX", kit_text(rig, 'z'));
	assert_int_equal(copy("dedup=none"), 0);
	assert_int_equal(check(""), 0);
	expect(0, 5, 0, 0, 0);
	/* Now their numbers are known; and then they are others. */
	fakeimap_renumber(rig->imap);
	assert_int_equal(check(""), 0);
	expect(0, 5, 0, 0, 0);
	fakeimap_renumber(rig->imap);
	sweep_say(rig, false, "expunge 3");
	assert_int_equal(check(""), EX_DATAERR);
	expect(0, 4, 0, 0, 1);
	assert_int_equal(strncmp(found, "not-found-there imap u", 22), 0);
	assert_int_equal(copy("dedup=none"), 0);
	assert_int_equal(fakeimap_copies(rig->imap, NULL), 5);
}

/* Answers that leave some out are not believed at once. */
static void test_truncated(void **state)
{
	(void)state;
	kit_mail(rig, "abcdefghij");
	assert_int_equal(copy(""), 0);
	sweep_say(rig, false, "fetch trunc:3 quiet");
	assert_int_equal(check(""), 0);
	expect(0, 10, 0, 0, 0);
	sweep_say(rig, false, "fetch trunc:3");
	assert_int_equal(check(""), 0);
	expect(0, 10, 0, 0, 0);
}

static void test_lost_sessions(void **state)
{
	(void)state;
	kit_mail(rig, "abcdef");
	assert_int_equal(copy(""), 0);
	sweep_say(rig, false, "on FETCH end=lost times=1");
	assert_int_equal(check(""), 0);
	expect(0, 6, 0, 0, 0);
	sweep_say(rig, false, "on FETCH end=bye times=2 skip=1");
	assert_int_equal(check(""), 0);
	expect(0, 6, 0, 0, 0);
	/* Without end: it is told, and nothing is taken for missing. */
	sweep_say(rig, false, "on FETCH end=lost");
	assert_int_equal(check(""), EX_TEMPFAIL);
	assert_int_equal(v.dest[0].missing, 0);
	sweep_say(rig, false, "well");
	assert_int_equal(check(""), 0);
	/* Refused one by one: unknown, not missing. */
	sweep_say(rig, false, "on FETCH tagged NO_broken");
	assert_int_equal(check(""), EX_DATAERR);
	expect(0, 0, 0, 0, 6);
}

static void test_folder_gone(void **state)
{
	(void)state;
	kit_mail(rig, "ab");
	sweep_say(rig, false, "vanish Old after=2");
	assert_int_equal(copy("folder=Old"), 0);
	assert_false(fakeimap_has(rig->imap, "Old"));
	assert_int_equal(check(""), EX_DATAERR);
	expect(0, 0, 0, 0, 2);
	/* To look is not to make. */
	assert_false(fakeimap_has(rig->imap, "Old"));
}

/* A session that was opened early, to make folders, and not needed. */
static void test_folder_gone_in_a_run(void **state)
{
	(void)state;
	kit_mail(rig, "ab");
	fakeimap_put(rig->imap, "Old", kit_text(rig, 'x'));
	sweep_say(rig, false, "vanish Old after=2");
	assert_int_equal(copy("folder=Old"), 0);
	assert_false(fakeimap_has(rig->imap, "Old"));
	assert_int_not_equal(copy("folder=Old check=yes"), 0);
	assert_false(fakeimap_has(rig->imap, "Old"));
}

static void break_archive(const char *how)
{
	char command[600];
	pid_t pid = fork();
	int st;

	snprintf(command, sizeof(command), "cd '%s/segments' && %s", rig->archive, how);
	if (pid == 0) {
		execlp("sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_int_equal(st, 0);
}

static void test_archive(void **state)
{
	(void)state;
	kit_mail(rig, "abc");
	assert_int_equal(copy("only-archive codec=none"), 0);
	assert_int_equal(check("only-archive"), 0);
	expect(0, 3, 0, 0, 0);
	break_archive("f=$(ls *.tar) && sed -i 's/This is (b)/That is (b)/' $f");
	assert_int_equal(check("only-archive"), EX_DATAERR);
	expect(0, 2, 0, 0, 1);
	assert_string_equal(found, "unreadable-there archive u2");
	break_archive("rm -f *");
	assert_int_equal(check("only-archive"), EX_DATAERR);
	sweep_remove(rig->archive);
	assert_int_equal(check("only-archive"), EX_DATAERR);
	/* To look is not to make. */
	assert_int_not_equal(access(rig->archive, F_OK), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_good),
		TEST(test_nothing),
		TEST(test_changed),
		TEST(test_gone),
		TEST(test_lost),
		TEST(test_wrong_places),
		TEST(test_without_places),
		TEST(test_truncated),
		TEST(test_lost_sessions),
		TEST(test_folder_gone),
		TEST(test_folder_gone_in_a_run),
		TEST(test_archive),
	};

	sweep_dir();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
