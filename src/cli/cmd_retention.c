/* cmd_retention.c: how long messages of an archive must stay. */
#include <popferry/archive.h>
#include <popferry/clock.h>
#include <popferry/export.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { TERM_MAX = 36500 };

const struct option retention_options[] = {
	{ "class", "NAME", "set: the class" },
	{ "years", "N", "set: so many years" },
	{ "days", "N", "set: or so many days" },
	{ "until", "DATE", "set: or until then" },
	{ "from", "date|retrieved",
		"set: counted from the message's date, or (default) from when it came" },
	{ "default", NULL, "set: for what no other class chooses" },
	{ "authority", "TEXT", "set: who says that a class may keep less" },
	{ "at", "DATE", "due: as if it were then" },
	{ NULL, NULL, NULL },
};

static int bad(struct cli *c, const char *text, struct err *err)
{
	return cli_bad_usage(c, "retention", text, err);
}

static int read_class(struct cli *c, struct archive_class *out, struct err *err)
{
	const char *days = cli_option(c, "days"), *years = cli_option(c, "years"),
		   *until = cli_option(c, "until"), *from = cli_option(c, "from");

	*out = (struct archive_class){ .name = cli_option(c, "class"),
		.authority = cli_option(c, "authority"),
		.fallback = cli_option(c, "default") != NULL,
		.from_date = from && strcmp(from, "date") == 0,
		.words = c->args + 2,
		.words_n = c->n_args - 2 };
	if (!out->name || !*out->name)
		return bad(c, "retention set needs --class", err);
	if (!days + !years + !until != 2)
		return bad(c, "retention set needs one of --years, --days and --until",
			err);
	if ((days && !policy_number(days, TERM_MAX, &out->days)) ||
		(years && !policy_number(years, TERM_MAX / 365, &out->years)))
		return bad(c, "--years takes 1 to 100, --days 1 to 36500", err);
	if (until && !policy_date(until, &out->until))
		return bad(c, "--until takes a date: 2030-12-31", err);
	if (from && !out->from_date && strcmp(from, "retrieved") != 0)
		return bad(c, "--from takes date or retrieved", err);
	if (out->fallback && out->words_n)
		return bad(c,
			"--default is for what no other class chooses: it takes no "
			"WORDs",
			err);
	return 0;
}

static int set(struct cli *c, struct err *err)
{
	struct archive_class class;
	unsigned no;
	int code = read_class(c, &class, err);

	if (code)
		return code;
	if (archive_retention_set(cli_archive_path(c->args[1]), &class, &policy_words,
		    c->identities, &no, err) != ST_OK)
		return cli_archive_failed(c, err);
	if (c->format == LOG_JSON)
		printf("{\"retention\":%u}\n", no);
	else if (c->verbosity >= 0)
		printf("policy/retention-%06u.json defines the class\n", no);
	return 0;
}

static void class_json(const struct archive_class *k)
{
	struct buf b = BUF_INIT(POLICY_JSON_MAX);
	char until[24];
	size_t i;

	buf_adds(&b, "{\"class\":");
	text_json(&b, k->name, strlen(k->name));
	buf_addf(&b, ",\"default\":%s,\"from\":\"%s\"", k->fallback ? "true" : "false",
		k->from_date ? "date" : "retrieved");
	if (k->until)
		buf_addf(&b, ",\"until\":\"%s\"", clock_rfc3339(until, k->until));
	else
		buf_addf(&b, ",\"%s\":%u", k->days ? "days" : "years",
			k->days ? k->days : k->years);
	buf_adds(&b, ",\"words\":[");
	for (i = 0; i < k->words_n; i++) {
		buf_adds(&b, i ? "," : "");
		text_json(&b, k->words[i], strlen(k->words[i]));
	}
	printf("%s]}\n", buf_str(&b));
	buf_free(&b);
}

static void class_text(const struct archive_class *k)
{
	struct buf b = BUF_INIT(POLICY_JSON_MAX);
	unsigned n = k->days ? k->days : k->years;
	char until[24];

	text_clean_add(&b, k->name, strlen(k->name));
	if (k->until)
		buf_addf(&b, ": until %.10s", clock_rfc3339(until, k->until));
	else
		buf_addf(&b, ": %u %s%s from %s", n, k->days ? "day" : "year",
			text_s(n), k->from_date ? "its date" : "when it was retrieved");
	buf_adds(&b, ", ");
	if (k->fallback)
		buf_adds(&b, "what no other class chooses");
	else
		policy_add_words(&b, k->words, k->words_n);
	printf("%s\n", buf_str(&b));
	buf_free(&b);
}

static int show(struct cli *c, struct err *err)
{
	struct archive_keeping *k = NULL;
	struct archive_reader *r = NULL;
	const struct archive_class *class;
	enum status rc = cli_read(c, &r, cli_archive_path(c->args[1]), err);
	size_t n, i;

	if (rc == ST_OK)
		rc = archive_keeping_load(&k, r, &policy_words, err);
	archive_done(&r);
	if (rc != ST_OK)
		return cli_archive_failed(c, err);
	class = archive_classes(k, &n);
	for (i = 0; i < n; i++)
		(c->format == LOG_JSON ? class_json : class_text)(&class[i]);
	archive_keeping_free(&k);
	return 0;
}

/* ---- due ---- */

struct due {
	const struct cli *c;
	struct choice *choice;
	int64_t newest; /* that the archive tells of; or there is nothing to warn of */
	uint64_t n;
};

static bool chosen(void *ctx, const struct archive_row *row)
{
	const struct due *d = ctx;

	return choice_has(d->choice, row);
}

static void tell(
	void *ctx, const struct archive_row *row, const struct archive_verdict *v)
{
	struct due *d = ctx;
	char why[VERDICT_MAX];
	struct buf b = BUF_INIT(POLICY_JSON_MAX);

	if (v->fate != ARCHIVE_DUE)
		return;
	d->n++;
	if (policy_due_by_clock(d->c, d->newest, v))
		d->newest = INT64_MAX;
	policy_verdict(why, sizeof(why), v);
	if (d->c->format == LOG_JSON) {
		buf_addf(&b, "{\"seq\":%" PRIu64 ",\"until\":%" PRId64 ",\"class\":",
			row->seq, v->until);
		text_json(&b, v->rule, strlen(v->rule));
		printf("%s}\n", buf_str(&b));
		buf_free(&b);
	} else {
		printf("%7" PRIu64 "  %s\n", row->seq, why);
	}
}

static int due(struct cli *c, struct err *err)
{
	const char *at = cli_option(c, "at");
	struct due d = { .c = c, .newest = INT64_MAX };
	struct archive_disposal job = { .words = &policy_words,
		.chosen = chosen,
		.tell = tell,
		.ctx = &d,
		.identities = c->identities,
		.due = true };
	struct archive_disposed out;
	enum status rc;

	if (at && !policy_date(at, &job.at))
		return bad(c, "--at takes a date: 2030-12-31", err);
	rc = choice_make(&d.choice, c->args + 2, c->n_args - 2, err);
	if (rc == ST_OK && !at)
		rc = policy_clock_of(c, cli_archive_path(c->args[1]), &d.newest, err);
	if (rc == ST_OK)
		rc = archive_dispose(cli_archive_path(c->args[1]), &job, &out, err);
	choice_free(&d.choice);
	if (rc != ST_OK)
		return cli_archive_failed(c, err);
	if (c->format != LOG_JSON && c->verbosity >= 0)
		printf("%" PRIu64 " message%s due\n", d.n, d.n == 1 ? " is" : "s are");
	return 0;
}

int cmd_retention(struct cli *c, struct err *err)
{
	static const struct {
		const char *name;
		int (*run)(struct cli *c, struct err *err);
	} verbs[] = { { "set", set }, { "show", show }, { "due", due } };
	size_t i;

	for (i = 0; c->n_args >= 2 && i < N_ELEMENTS(verbs); i++)
		if (strcmp(c->args[0], verbs[i].name) == 0)
			return verbs[i].run(c, err);
	return bad(c, "retention needs set, show or due, and an ARCHIVE", err);
}
