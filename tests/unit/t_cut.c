/*
 * t_cut.c: the line is cut at every byte of a short dialogue, in both directions, and
 * popferry goes on. With FULL=1 in the environment every byte, else each STRIDE-th.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sweep_kit.h"

#include "cutter.h"

#include <errno.h>

enum {
#ifdef __SANITIZE_ADDRESS__
	STRIDE = 733,
#else
	STRIDE = 149,
#endif
	BYTES_MAX = 4000,
	LIMIT_SECONDS = 1200,
};

static const char mail[] = "aab";
static unsigned points, gave_up;

struct way {
	const char *name;
	const char *say; /* to the IMAP server */
	int settle_ms;
	int batch;  /* messages in one; 0: all */
	bool turns; /* FIN and RST by turns, not both at each byte */
};

struct line {
	const char *name;
	bool pop; /* else IMAP */
	const char *since;
	const char *capabilities, *options;
	const char *ends;
};

static const struct way ways[] = {
	{ "commit=yes", NULL, 1, 0, false },
	/* In place of the answer the server dies, too. */
	{ "commit=no", "append end=lost commit=no times=1", 1, 0, false },
	/* By the last byte of the literal, like Courier. */
	{ "commit=early", "append commit=early", 1, 0, true },
	{ "commit=late", "append end=lost commit=late:2 times=1", 8, 0, true },
	{ "commit=yes, one by one", NULL, 1, 1, true },
	{ "commit=no, one by one", "append end=lost commit=no times=1", 1, 1, true },
	{ "commit=late, one by one", "append end=lost commit=late:2 times=1", 8, 1,
		true },
};

enum { ONE_BY_ONE = 4 }; /* that of the ways which is the first one by one */

static const struct line appends[] = {
	{ "all offered", false, " APPEND ", "UIDPLUS MULTIAPPEND LITERAL+",
		"dedup=none", "aab" },
	{ "no UIDPLUS", false, " APPEND ", "MULTIAPPEND LITERAL+", "dedup=none",
		"aab" },
	{ "UIDPLUS, nothing ahead", false, " APPEND ", "UIDPLUS", "dedup=none", "aab" },
	{ "nothing offered", false, " APPEND ", "X", "dedup=none", "aab" },
	{ "one by one ahead", false, " APPEND ", "LITERAL+", "dedup=none", "aab" },
	{ "equal ones once", false, " APPEND ", "UIDPLUS MULTIAPPEND LITERAL+", NULL,
		"ab" },
};

static const struct line wholes[] = {
	{ "a whole IMAP session", false, NULL, "UIDPLUS MULTIAPPEND LITERAL+",
		"archive", "ab" },
	{ "a whole POP3 session", true, NULL, "UIDPLUS MULTIAPPEND LITERAL+",
		"dedup=none", "aab" },
};

/* Some 120 bytes each. */
static void write_short(struct rig *r)
{
	const char *p;

	for (p = "ab"; *p; p++)
		r->texts[kit_index(*p)] = xasprintf(
			"From: ann@example.org\r\nDate: Mon, 1 Jan 2024 "
			"10:00:00 +0000\r\nMessage-ID: <%c@example.org>"
			"\r\n\r\n.%c\r\n",
			*p, *p);
}

static void say(struct fakeimap *imap, const char *text)
{
	char *copy = xstrdup(text), *rest = copy, *argv[12], why[200] = "";
	int n = 0;

	while (n < 12 && (argv[n] = strsep(&rest, " ")))
		n++;
	if (!fakeimap_say(imap, n, argv, why, sizeof(why)))
		fail_msg("%s: %s", text, why);
	free(copy);
}

/* What gave up is run again. */
static void check_run(struct rig *r, struct cutter *c, const struct line *l,
	const struct way *w, const char *name)
{
	struct sweep_run run = { .settle_ms = w->settle_ms,
		.batch_count = w->batch,
		.deadline_ms = 5000,
		.options = l->options };
	int code;

	*(l->pop ? &run.pop : &run.imap) = cutter_port(c);
	code = sweep_here(r, &run);
	if (code == EX_TEMPFAIL || code == EX_UNAVAILABLE) {
		gave_up++;
		code = sweep_here(r, &run);
	}
	if (code != 0)
		fail_msg(
			"%s: exit %d (%s), %s", name, code, r->out.err.text, r->ledger);
	kit_expect(r, name, l->ends);
	if (l->options && strstr(l->options, "archive"))
		kit_expect_archive(r, name, l->ends);
	if (r->out.ledger.listed != strlen(mail))
		fail_msg("%s: %s", name, r->ledger);
}

static bool cut_at(struct rig *r, struct cutter *c, const struct line *l,
	const struct way *w, const struct cut *cut)
{
	const struct fakeimap_ways imap = { .capabilities = l->capabilities };
	char name[200];

	snprintf(name, sizeof(name), "%s, %s, %s byte %zu to the %s", l->name, w->name,
		cut->reset ? "RST" : "FIN", cut->after,
		cut->side == CUT_TO_SERVER ? "server" : "client");
	sweep_remove(r->state);
	sweep_remove(r->archive);
	fakeimap_forget(r->imap);
	say(r->imap, "well");
	fakeimap_behave(r->imap, &imap);
	if (w->say)
		say(r->imap, w->say);
	cutter_set(c, cut);
	check_run(r, c, l, w, name);
	points += cutter_cuts(c);
	return cutter_cuts(c) != 0;
}

static void cut_everywhere(const struct line *l, const struct way *w, size_t first)
{
	size_t stride = sweep_full() ? 1 : STRIDE;
	struct cut cut = { .since = l->since };
	struct cutter *c;
	struct rig *r;
	int k;

	sweep_open(&r);
	write_short(r);
	kit_mail(r, mail);
	cutter_open(&c, l->pop ? fakepop_port(r->pop) : fakeimap_port(r->imap));
	for (k = 0; k < (w->turns ? 2 : 4); k++) {
		cut.side = k & 1 ? CUT_TO_CLIENT : CUT_TO_SERVER;
		cut.reset = k & 2;
		/* Another byte in each, so that together they have them all. */
		first = (first + 7) % stride;
		for (cut.after = first;; cut.after += stride) {
			if (w->turns)
				cut.reset = (cut.after + (unsigned)k) & 1;
			if (!cut_at(r, c, l, w, &cut))
				break;
			assert_true(cut.after < BYTES_MAX);
		}
	}
	cutter_close(&c);
	sweep_close(&r);
}

static void test_append(void **state)
{
	const struct line *l = *state;
	size_t i;

	for (i = 0; i < N_ELEMENTS(ways); i++) {
		alarm(LIMIT_SECONDS);
		cut_everywhere(
			l, &ways[i], (size_t)(l - appends) * N_ELEMENTS(ways) + i);
	}
	alarm(0);
}

static void test_whole(void **state)
{
	alarm(LIMIT_SECONDS);
	cut_everywhere(*state, &ways[0], 0);
	cut_everywhere(*state, &ways[ONE_BY_ONE], 1);
	alarm(0);
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[N_ELEMENTS(appends) + N_ELEMENTS(wholes)];
	size_t i, n = 0;
	int rc;

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	sweep_dir();
	sweep_quiet();
	for (i = 0; i < N_ELEMENTS(appends); i++)
		tests[n++] = (struct CMUnitTest){ appends[i].name, test_append, NULL,
			NULL, (void *)(uintptr_t)&appends[i] };
	for (i = 0; i < N_ELEMENTS(wholes); i++)
		tests[n++] = (struct CMUnitTest){ wholes[i].name, test_whole, NULL,
			NULL, (void *)(uintptr_t)&wholes[i] };
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	printf("# cut at %u bytes, %u gave up and ran again\n", points, gave_up);
	return rc;
}
