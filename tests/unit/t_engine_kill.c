/*
 * t_engine_kill.c: runs that are killed at every step, stopped at any moment, or
 * not alone. With FULL=1 in the environment the matrix is tried at each step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sweep_kit.h"

#include <pthread.h>

enum {
#ifdef __SANITIZE_ADDRESS__
	STRIDE = 121,
	NAMED_STRIDE = 16,
#else
	STRIDE = 23,
	NAMED_STRIDE = 1,
#endif
	STEPS_MAX = 400,
	STOPS = 12,
	LIMIT_SECONDS = 120,
	SETTLE = 1,
};

static struct zygote *zygote;
static unsigned points;

/* ---- killed ---- */

struct sweep {
	const char *name, *mail, *options;
	struct fakepop_ways pop;
	struct fakeimap_ways imap;
	const char *ends; /* at both, if there are two */
	bool renumber;    /* after the death */
	int batch;        /* messages in one; 0: all */
};

static const struct sweep sweeps[] = {
	{ .name = "killed: all that IMAP has", .mail = "abcaA0", .ends = "abcA0" },
	{ .name = "killed: no UIDPLUS",
		.mail = "abcaA0",
		.imap.capabilities = "LITERAL+ MULTIAPPEND",
		.ends = "abcA0" },
	{ .name = "killed: no MULTIAPPEND, copies kept",
		.mail = "aab00",
		.options = "dedup=none",
		.imap.capabilities = "UIDPLUS LITERAL+",
		.ends = "aab00" },
	{ .name = "killed: nothing offered, copies kept",
		.mail = "aaba",
		.options = "dedup=none",
		.imap.capabilities = "NOTHING",
		.ends = "aaba" },
	{ .name = "killed: no UIDLs",
		.mail = "abab0",
		.options = "dedup=none",
		.pop.no_uidl = true,
		.ends = "abab0" },
	{ .name = "killed: an archive beside",
		.mail = "abcaA0",
		.options = "archive",
		.ends = "abcA0" },
	{ .name = "killed: an archive beside, copies kept",
		.mail = "aab",
		.options = "archive dedup=none",
		.imap.capabilities = "LITERAL+ MULTIAPPEND",
		.ends = "aab" },
	{ .name = "killed: several connections",
		.mail = "abcdefghijklmnopqrstuvwxyz",
		.options = "connections=3",
		.imap.capabilities = "UIDPLUS",
		.ends = "abcdefghijklmnopqrstuvwxyz" },
	{ .name = "killed: several connections, copies kept",
		.mail = "aabbccddeeffgghhiijjkkllmm",
		.options = "dedup=none connections=3",
		.imap.capabilities = "UIDPLUS",
		.ends = "aabbccddeeffgghhiijjkkllmm" },
};

static bool is_many(const struct sweep *s)
{
	return s->options && strstr(s->options, "connections");
}

/* True when it was killed at step n; false when it got through before. */
static bool killed_at(struct rig *r, const struct sweep *s, int n)
{
	const struct sweep_run run = { .settle_ms = SETTLE,
		.crash_at = n,
		.batch_count = s->batch,
		.options = s->options };
	int code = sweep_apart(zygote, r, &run);

	if (code > 0)
		fail_msg("%s, batches of %d, step %d: exit %d", s->name, s->batch, n,
			code);
	return code < 0;
}

static void check_after(struct rig *r, const struct sweep *s, int n)
{
	const struct sweep_run run = {
		.settle_ms = SETTLE, .batch_count = s->batch, .options = s->options
	};
	bool archive = s->options && strstr(s->options, "archive");
	bool imap = !s->options || !strstr(s->options, "only-archive");
	char name[160];
	int i, code;

	for (i = 0; i < 2; i++) {
		code = sweep_here(r, &run);
		snprintf(name, sizeof(name), "%s, batches of %d, step %d, run %d",
			s->name, s->batch, n, i + 1);
		if (code != 0 || (i && r->out.ledger.stored))
			fail_msg("%s: exit %d (%s), %s", name, code, r->out.err.text,
				r->ledger);
		if (imap)
			kit_expect(r, name, s->ends);
		if (archive)
			kit_expect_archive(r, name, s->ends);
	}
}

/* From step `first` on, each `stride`th. */
static void sweep(const struct sweep *s, int first, int stride)
{
	bool killed = true;
	struct rig *r;
	int n;

	for (n = first; killed; n += stride) {
		assert_true(n < STEPS_MAX);
		sweep_open(&r);
		kit_mail(r, s->mail);
		fakepop_behave(r->pop, &s->pop);
		fakeimap_behave(r->imap, &s->imap);
		if (is_many(s))
			sweep_say(r, false, "connections 6");
		killed = killed_at(r, s, n);
		if (is_many(s)) /* what it sent is stored before there is another */
			assert_true(fakeimap_idle(r->imap));
		if (s->renumber)
			fakeimap_renumber(r->imap);
		check_after(r, s, n);
		sweep_close(&r);
		points += killed;
	}
	assert_true(n > 12);
}

/* All in one batch; and with many under way. */
static const int batches[] = { 0, 1, 2 };

static void test_killed(void **state)
{
	struct sweep s = *(const struct sweep *)*state;
	size_t i;

	for (i = 0; i < N_ELEMENTS(batches); i++) {
		alarm(LIMIT_SECONDS);
		s.batch = batches[i];
		if (sweep_full())
			sweep(&s, 1, 1);
		else
			sweep(&s, 1 + (int)i * NAMED_STRIDE / 3,
				NAMED_STRIDE * (is_many(&s) ? stride_of(2) : 1));
	}
	alarm(0);
}

/*
 * Every kind of server, destination and dedup, with one, two and three equal messages,
 * and with another UIDVALIDITY after the death. Two sessions of the source make two
 * batches, so that some messages are stored when others are in doubt. In short runs
 * each sweep takes every STRIDE-th step, and all sweeps together every one.
 */
static void test_matrix(void **state)
{
	static const char *const offers[] = { "UIDPLUS", "MULTIAPPEND", "LITERAL+" };
	static const char *const dests[] = { "", "archive ", "only-archive " };
	const size_t *dest = *state;
	unsigned kind, k;
	int i = 0;

	for (kind = 0; kind < 32; kind++) {
		struct buf caps = BUF_INIT(100), name = BUF_INIT(200);
		bool none = kind & 8;
		char options[60];
		struct sweep s = { .mail = "abcbcc",
			.options = options,
			.pop.drop_after = 4,
			.ends = none ? "abcbcc" : "abc",
			.renumber = kind & 16 };

		if (*dest == 2 && kind & ~8u)
			continue; /* all one to an archive */
		alarm(LIMIT_SECONDS * (sweep_full() ? 5 : 1));
		buf_adds(&caps, "X");
		for (k = 0; k < N_ELEMENTS(offers); k++)
			if (kind & 1u << k)
				buf_addf(&caps, " %s", offers[k]);
		s.imap.capabilities = buf_str(&caps);
		snprintf(options, sizeof(options), "%sdedup=%s", dests[*dest],
			none ? "none" : "message-id");
		buf_addf(&name, "%s, %s%s", options, buf_str(&caps),
			s.renumber ? ", renumbered" : "");
		s.name = buf_str(&name);
		/* Under a sanitizer these take turns. */
		for (k = kind % (unsigned)stride_of(3); k < N_ELEMENTS(batches);
			k += (unsigned)stride_of(3)) {
			s.batch = batches[k];
			if (sweep_full())
				sweep(&s, 1, 1);
			else
				sweep(&s, 1 + i++ % STRIDE, STRIDE);
		}
		buf_free(&caps);
		buf_free(&name);
	}
	alarm(0);
}

/* What is in doubt is looked for where it went, though the rules are others now. */
static void test_killed_and_refiled(void **state)
{
	static const struct sweep s = {
		.name = "refiled",
		.mail = "abc",
		.options = "folder=Old/\303\244",
		.ends = "abc",
	};
	bool killed = true;
	struct rig *r;
	int n;

	(void)state;
	for (n = 1; killed; n += stride_of(5)) {
		kit_open(&r);
		kit_mail(r, s.mail);
		killed = killed_at(r, &s, n);
		assert_int_equal(kit_run(r, "folder=New"), 0);
		kit_expect(r, s.name, s.mail);
		kit_close(&r);
	}
}

/* ---- stopped ---- */

struct stopper {
	struct engine *e;
	int64_t after_us;
};

static void *stop_later(void *arg)
{
	const struct stopper *s = arg;

	usleep((useconds_t)s->after_us);
	engine_stop(s->e);
	return NULL;
}

/* Milliseconds from the stop to the end. */
static int64_t stopped_run(
	struct rig *r, const char *options, int64_t after_us, int *code)
{
	struct job *j = kit_job(r, options);
	const struct pace pace = kit_pace();
	struct stopper s = { NULL, after_us };
	int64_t began = clock_ms();
	pthread_t t;

	engine_new(&s.e, j, NULL);
	engine_pace(s.e, &pace);
	assert_int_equal(pthread_create(&t, NULL, stop_later, &s), 0);
	*code = engine_run(s.e, &r->out);
	pthread_join(t, NULL);
	kit_ledger(&r->out.ledger, r->ledger, sizeof(r->ledger));
	engine_free(&s.e);
	job_free(&j);
	return clock_ms() - began - after_us / 1000;
}

static void test_stopped_anywhere(void **state)
{
	static const char mail[] = "abcdefghijklmnopqrstuvwxyz";
	const struct fakepop_ways pop = { .drop_after = 4 };
	const struct fakeimap_ways imap = { .capabilities = "UIDPLUS LITERAL+",
		.drop = "(k)",
		.drop_times = 3,
		.commit = COMMIT_YES };
	int i, code, early = 0;
	struct rig *r;

	(void)state;
	alarm(LIMIT_SECONDS);
	for (i = 0; i < STOPS; i++) {
		kit_open(&r);
		kit_mail(r, mail);
		fakepop_behave(r->pop, &pop);
		fakeimap_behave(r->imap, &imap);
		assert_true(stopped_run(r, "archive", i * i * 1500, &code) < 3000);
		if (code != 0 && code != 75)
			fail_msg("stop %d: exit %d (%s), %s", i, code, r->out.err.text,
				r->ledger);
		early += code == 75;
		if (kit_run(r, "archive") != 0)
			fail_msg(
				"after stop %d: %s, %s", i, r->out.err.text, r->ledger);
		kit_expect(r, "stopped", mail);
		kit_expect_archive(r, "stopped", mail);
		kit_close(&r);
	}
	assert_true(early > STOPS / 3);
	alarm(0);
}

/* Where nothing comes any more, a stop ends the wait. */
static void test_stopped_in_silence(void **state)
{
	static const struct {
		const char *name;
		struct fakepop_ways pop;
		struct fakeimap_ways imap;
		const char *ledger;
	} rows[] = {
		{ "the source is silent", { .hang = "(c)" }, { 0 },
			"4 listed, 2 stored, 2 left" },
		{ "the destination is silent", { 0 },
			{ .hang = "(c)", .capabilities = "UIDPLUS" },
			"4 listed, 2 stored, 2 left" },
		{ "the destination is down", { 0 }, { .down = true }, NULL },
	};
	struct rig *r;
	int64_t took;
	size_t i;
	int code;

	(void)state;
	alarm(LIMIT_SECONDS);
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		const struct fakeimap_ways well = { .capabilities = NULL };
		const struct fakepop_ways awake = { .hang = NULL };

		kit_open(&r);
		kit_mail(r, "abcd");
		fakepop_behave(r->pop, &rows[i].pop);
		fakeimap_behave(r->imap, &rows[i].imap);
		took = stopped_run(r, NULL, rows[i].imap.down ? 60000 : 500000, &code);
		if (took > 2000 || code != 75 ||
			(rows[i].ledger && strcmp(r->ledger, rows[i].ledger) != 0))
			fail_msg("%s: exit %d (%s), %s", rows[i].name, code,
				r->out.err.text, r->ledger);
		fakepop_behave(r->pop, &awake);
		fakeimap_behave(r->imap, &well);
		assert_int_equal(kit_run(r, NULL), 0);
		kit_expect(r, rows[i].name, "abcd");
		kit_close(&r);
	}
	alarm(0);
}

/* ---- not alone, and dry ---- */

struct whole {
	struct rig *r;
	struct job *j;
};

static void *run_whole(void *arg)
{
	const struct whole *w = arg;

	kit_run_job(w->r, w->j);
	return NULL;
}

static void test_second_run_beside(void **state)
{
	const struct fakepop_ways pop = { .hang = "(c)" };
	struct rig *r, other;
	struct whole first;
	struct job *second;
	pthread_t t;

	(void)state;
	kit_open(&r);
	kit_mail(r, "abc");
	fakepop_behave(r->pop, &pop);
	other = *r;
	first = (struct whole){ r, kit_job(r, NULL) };
	second = kit_job(&other, NULL);
	assert_int_equal(pthread_create(&t, NULL, run_whole, &first), 0);
	usleep(300000);
	assert_int_equal(kit_run_job(&other, second), 75);
	assert_int_equal(other.out.run, 0);
	fakepop_close(&r->pop); /* ends the first one's wait */
	pthread_join(t, NULL);
	assert_int_not_equal(r->out.exit, 0);
	kit_expect(r, "beside", "ab");
	job_free(&first.j);
	job_free(&second);
	kit_close(&r);
}

static void test_dry_run(void **state)
{
	struct stat st;
	struct rig *r;

	(void)state;
	kit_open(&r);
	kit_mail(r, "abca");
	assert_int_equal(kit_run(r, "dry-run folder=New archive"), 0);
	assert_string_equal(r->ledger, "4 listed, 4 left");
	assert_int_equal(r->out.plan.todo, 4);
	assert_int_equal(fakepop_count(r->pop, "RETR"), 0);
	assert_int_equal(fakeimap_changes(r->imap), 0);
	assert_true(stat(r->state, &st) < 0 && stat(r->archive, &st) < 0);
	/* Beside a journal, with a destination that it does not know. */
	assert_int_equal(kit_run(r, NULL), 0);
	kit_mail(r, "abcade");
	assert_int_equal(kit_run(r, "dry-run"), 0);
	assert_string_equal(r->ledger, "6 listed, 4 known, 2 left");
	assert_int_equal(kit_run(r, "dry-run archive"), 0);
	assert_string_equal(r->ledger, "6 listed, 6 left");
	assert_int_equal(fakepop_count(r->pop, "RETR"), 4);
	assert_true(stat(r->archive, &st) < 0);
	kit_expect(r, "dry", "abc");
	kit_close(&r);
}

/* A path that is written otherwise, or was not there before, is the same archive. */
static void test_archive_by_another_path(void **state)
{
	char there[200], url[400];
	struct err err = ERR_INIT;
	struct rig *r;
	size_t i;

	(void)state;
	assert_non_null(getcwd(there, sizeof(there)));
	kit_open(&r);
	kit_mail(r, "abc");
	assert_int_equal(chdir(r->dir), 0);
	for (i = 0; i < 3; i++) {
		static const char *const paths[] = { "deep/archive",
			"./deep//archive" };
		struct job *j;

		job_new(&j);
		snprintf(url, sizeof(url), "pop3://u@127.0.0.1:%u",
			fakepop_port(r->pop));
		kit_set(j, "source", url);
		kit_set(j, "source-tls", "none");
		setenv("KIT_SOURCE", "secret", 1);
		kit_set(j, "source-password-env", "KIT_SOURCE");
		if (i == 2)
			snprintf(url, sizeof(url), "archive:%s/deep/archive", r->dir);
		else
			snprintf(url, sizeof(url), "archive:%s", paths[i]);
		kit_set(j, "dest", url);
		kit_set(j, "state", r->state);
		assert_int_equal(job_check(j, &err), ST_OK);
		assert_int_equal(kit_run_job(r, j), 0);
		assert_string_equal(
			r->ledger, i ? "3 listed, 3 known" : "3 listed, 3 stored");
		job_free(&j);
	}
	assert_int_equal(chdir(there), 0);
	kit_close(&r);
}

int main(int argc, char **argv)
{
	static size_t dests[] = { 0, 1, 2 };
	static const struct CMUnitTest others[] = {
		cmocka_unit_test_prestate(test_matrix, &dests[0]),
		cmocka_unit_test_prestate(test_matrix, &dests[1]),
		cmocka_unit_test_prestate(test_matrix, &dests[2]),
		cmocka_unit_test(test_killed_and_refiled),
		cmocka_unit_test(test_stopped_anywhere),
		cmocka_unit_test(test_stopped_in_silence),
		cmocka_unit_test(test_second_run_beside),
		cmocka_unit_test(test_dry_run),
		cmocka_unit_test(test_archive_by_another_path),
	};
	struct CMUnitTest tests[N_ELEMENTS(sweeps) + N_ELEMENTS(others)];
	size_t i, n = 0;
	int rc;

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	sweep_dir();
	sweep_quiet();
	zygote_open(&zygote, sweep_child);
	for (i = 0; i < N_ELEMENTS(sweeps); i++)
		tests[n++] = (struct CMUnitTest){ sweeps[i].name, test_killed, NULL,
			NULL, (void *)(uintptr_t)&sweeps[i] };
	for (i = 0; i < N_ELEMENTS(others); i++)
		tests[n++] = others[i];
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	zygote_close(&zygote);
	printf("# killed at %u steps\n", points);
	return rc;
}
