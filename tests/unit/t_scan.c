/* t_scan.c: --scan: what a program says of a message decides where it goes, once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sweep_kit.h"

enum { STEPS_MAX = 200, RUNS = 2 };

static struct zygote *zygote;

/* Programs in the rig's folder. "bad" finds something in x and y. */
static const struct {
	const char *name, *text;
} programs[] = {
	{ "clean", "exec cat >/dev/null" },
	{ "bad", "grep -q '^This is ([xy])' || exit 0; echo 'Test found'; exit 1" },
	{ "broken", "exit 2" },
	{ "dead", "kill -9 $$" },
	{ "late", "exec sleep 60" },
};

static void write_programs(struct rig *r)
{
	size_t i;

	for (i = 0; i < N_ELEMENTS(programs); i++) {
		char *path = xasprintf("%s/%s", r->dir, programs[i].name);
		FILE *f = fopen(path, "w");

		assert_non_null(f);
		fprintf(f, "#!/bin/sh\n%s\n", programs[i].text);
		fchmod(fileno(f), 0700);
		assert_int_equal(fclose(f), 0);
		free(path);
	}
}

static char *options(struct rig *r, const char *scan, const char *more)
{
	return xasprintf("scan=%s/%s scan-timeout=1 %s", r->dir, scan, more);
}

/* ---- what comes of it ---- */

struct run {
	const char *scan, *options;
	int exit;
	const char *ledger;
};

static const struct story_row {
	const char *name, *mail;
	struct run run[RUNS];
	const char *there;   /* at the IMAP side, in any folder */
	unsigned held;       /* in the quarantine */
	const char *archive; /* NULL: there is none */
} rows[] = {
	{ "clean", "abx", { { "clean", "", 0, "3 listed, 3 stored" } }, "abx", 0,
		NULL },
	{ "noted", "abx",
		{ { "bad", "", 0, "3 listed, 3 stored" },
			{ "bad", "", 0, "3 listed, 3 known" } },
		"abx", 0, NULL },
	{ "quarantine", "abxy",
		{ { "bad", "scan-policy=quarantine archive", 0, "4 listed, 4 stored" },
			{ "bad", "scan-policy=quarantine archive", 0,
				"4 listed, 4 known" } },
		"abxy", 2, "abxy" },
	{ "quarantine, elsewhere", "ax",
		{ { "bad", "scan-policy=quarantine quarantine-folder=Held", 0,
			"2 listed, 2 stored" } },
		"ax", 0, NULL },
	{ "refused", "abxy",
		{ { "bad", "scan-policy=refuse", 0, "4 listed, 2 stored, 2 filtered" },
			{ "bad", "scan-policy=refuse", 0,
				"4 listed, 2 known, 2 filtered" } },
		"ab", 0, NULL },
	{ "refused, and later clean", "abx",
		{ { "bad", "scan-policy=refuse", 0, "3 listed, 2 stored, 1 filtered" },
			{ "clean", "scan-policy=refuse", 0,
				"3 listed, 2 known, 1 stored" } },
		"abx", 0, NULL },
	{ "refused, and not in the way of others", "xyabc",
		{ { "bad", "scan-policy=refuse limit=2", 2,
			  "5 listed, 2 filtered, 3 left" },
			{ "bad", "scan-policy=refuse limit=2", 2,
				"5 listed, 2 stored, 3 left" } },
		"ab", 0, NULL },
	{ "refused, and the archive has it", "abx",
		{ { "bad", "scan-policy=refuse archive", 0, "3 listed, 3 stored" },
			{ "bad", "scan-policy=refuse archive", 0,
				"3 listed, 3 known" } },
		"ab", 0, "abx" },
	{ "refused by an archive alone: it is none that refuses", "ax",
		{ { "bad", "scan-policy=refuse only-archive", 0,
			"2 listed, 2 stored" } },
		"", 0, "ax" },
	{ "the scan fails", "ab",
		{ { "broken", "", 2, "2 listed, 2 failed" },
			{ "clean", "", 0, "2 listed, 2 stored" } },
		"ab", 0, NULL },
	{ "the scan dies", "ab",
		{ { "dead", "archive", 2, "2 listed, 2 failed" },
			{ "bad", "archive", 0, "2 listed, 2 stored" } },
		"ab", 0, "ab" },
	{ "the scan hangs", "a",
		{ { "late", "", 2, "1 listed, 1 failed" },
			{ "clean", "", 0, "1 listed, 1 stored" } },
		"a", 0, NULL },
	{ "duplicates are not asked about", "aax",
		{ { "bad", "scan-policy=refuse", 0,
			"3 listed, 1 stored, 1 duplicate, 1 filtered" } },
		"a", 0, NULL },
	{ "not there", "a", { { "nowhere", "", EX_CONFIG, "" } }, "", 0, NULL },
};

static void test_rows(void **state)
{
	size_t i, k;

	(void)state;
	for (i = 0; i < N_ELEMENTS(rows); i++) {
		struct rig *r;

		kit_open(&r);
		write_programs(r);
		kit_mail(r, rows[i].mail);
		for (k = 0; k < RUNS && rows[i].run[k].scan; k++) {
			const struct run *run = &rows[i].run[k];
			char *all = options(r, run->scan, run->options);
			int code = kit_run(r, all);

			if (code != run->exit || strcmp(r->ledger, run->ledger) != 0)
				fail_msg("%s, run %zu: %d, %s: %s", rows[i].name, k,
					code, r->ledger, r->out.err.text);
			free(all);
		}
		kit_expect(r, rows[i].name, rows[i].there);
		if (fakeimap_in(r->imap, "Quarantine") != rows[i].held)
			fail_msg("%s: %u held", rows[i].name,
				fakeimap_in(r->imap, "Quarantine"));
		if (rows[i].archive)
			kit_expect_archive(r, rows[i].name, rows[i].archive);
		kit_close(&r);
	}
}

/* ---- killed anywhere, and then the program says something else ---- */

static const struct sweep_row {
	const char *name, *first, *then, *options;
	bool refuse; /* x need not be there */
} sweeps[] = {
	{ "found both times", "bad", "bad", "scan-policy=quarantine", false },
	{ "found at first", "bad", "clean", "scan-policy=quarantine", false },
	{ "found later", "clean", "bad", "scan-policy=quarantine", false },
	{ "found later, two destinations", "clean", "bad",
		"scan-policy=quarantine archive", false },
	{ "refused at first", "bad", "clean", "scan-policy=refuse", false },
	{ "refused later", "clean", "bad", "scan-policy=refuse", true },
	{ "refused later, and archived", "clean", "bad", "scan-policy=refuse archive",
		true },
};

/* Dies at that step, goes on: true when it did not come so far. */
static bool sweep_once(const struct sweep_row *row, int step)
{
	struct sweep_run s = { .crash_at = step, .batch_count = 2 };
	unsigned was, copies, changes;
	char name[120], *first, *then;
	struct rig *r;
	int code;

	sweep_open(&r);
	write_programs(r);
	kit_mail(r, "axb");
	first = options(r, row->first, row->options);
	then = options(r, row->then, row->options);
	snprintf(name, sizeof(name), "%s, step %d", row->name, step);
	s.options = first;
	code = sweep_apart(zygote, r, &s);
	/* What was said before the death may still be carried out. */
	assert_true(fakeimap_idle(r->imap));
	was = fakeimap_copies(r->imap, kit_text(r, 'x'));
	s = (struct sweep_run){ .options = then };
	if (sweep_here(r, &s) != 0)
		fail_msg("%s: %s", name, r->out.err.text);
	outcome_release(&r->out);
	copies = fakeimap_copies(r->imap, kit_text(r, 'x'));
	if (copies > 1 || (!copies && !row->refuse))
		fail_msg("%s: %u copies of x", name, copies);
	/* What no run had put goes where the policy says now. */
	if (!was && strcmp(row->then, "bad") == 0 &&
		(row->refuse ? copies : fakeimap_in(r->imap, "Quarantine") != 1))
		fail_msg("%s: x is in the wrong place", name);
	if (fakeimap_copies(r->imap, NULL) != 2 + copies)
		fail_msg("%s: %u messages", name, fakeimap_copies(r->imap, NULL));
	if (strstr(row->options, "archive"))
		kit_expect_archive(r, name, "axb");
	changes = fakeimap_changes(r->imap);
	if (sweep_here(r, &s) != 0 || fakeimap_changes(r->imap) != changes)
		fail_msg("%s: a further run is not idle: %s", name, r->ledger);
	outcome_release(&r->out);
	free(first);
	free(then);
	sweep_close(&r);
	return code != -1;
}

static void test_killed(void **state)
{
	int step, pace = sweep_full() ? 1 : 3 * stride_of(3);
	size_t i;

	(void)state;
	for (i = 0; i < N_ELEMENTS(sweeps); i++) {
		for (step = 1 + (int)i % pace; step < STEPS_MAX; step += pace)
			if (sweep_once(&sweeps[i], step))
				break;
		assert_true(step < STEPS_MAX);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_killed),
	};
	int rc;

	signal(SIGPIPE, SIG_IGN);
	sweep_dir();
	sweep_quiet();
	zygote_open(&zygote, sweep_child);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	zygote_close(&zygote);
	return rc;
}
