/* cmd_dispose.c: messages leave an archive, lawfully and for good. */
#include <popferry/archive.h>
#include <popferry/export.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const struct option dispose_options[] = {
	{ "due", NULL, "of these, what a retention class has kept long enough" },
	{ "authority", "TEXT", "by whose order; goes into the record" },
	{ "yes", NULL, "do it; without this it is only told what would go" },
	{ NULL, NULL, NULL },
};

struct disposing {
	const struct cli *c;
	struct choice *choice;
	int64_t newest; /* that the archive tells of */
	bool act, warned;
};

static bool chosen(void *ctx, const struct archive_row *row)
{
	const struct disposing *d = ctx;

	return choice_has(d->choice, row);
}

static void tell(
	void *ctx, const struct archive_row *row, const struct archive_verdict *v)
{
	bool goes = v->fate == ARCHIVE_FREE || v->fate == ARCHIVE_DUE;
	struct disposing *d = ctx;
	struct buf b = BUF_INIT(POLICY_JSON_MAX);
	char why[VERDICT_MAX], subject[128];

	if (!d->warned)
		d->warned = policy_due_by_clock(d->c, d->newest, v);
	policy_verdict(why, sizeof(why), v);
	if (d->c->format == LOG_JSON) {
		buf_addf(&b, "{\"seq\":%" PRIu64 ",\"goes\":%s,\"why\":", row->seq,
			goes ? "true" : "false");
		text_json(&b, why, strlen(why));
		printf("%s}\n", buf_str(&b));
		buf_free(&b);
	} else if (!goes) {
		printf("%7" PRIu64 "  stays  %s\n", row->seq, why);
	} else if (!d->act) {
		printf("%7" PRIu64 "  goes   %s: %s\n", row->seq, why,
			cli_show(subject, sizeof(subject), row->subject));
	}
}

static void tell_total(const struct cli *c, const struct disposing *d,
	const struct archive_disposed *out)
{
	const char *s = text_s(out->gone);

	if (c->format == LOG_JSON || c->verbosity < 0)
		return;
	if (d->act)
		printf("%" PRIu64 " message%s disposed of, in %u record%s\n", out->gone,
			s, out->records, text_s(out->records));
	else
		printf("%" PRIu64
		       " message%s would go: --yes --authority TEXT does it\n",
			out->gone, s);
	fflush(stdout);
}

static int ended(
	const struct cli *c, const struct archive_disposed *out, struct err *err)
{
	if (out->refused == 0)
		return 0;
	err_set(err, ST_DENIED, EX_PARTIAL, "%" PRIu64 " message%s to stay",
		out->refused, out->refused == 1 ? " has" : "s have");
	cli_complain(c, err);
	return err->exit;
}

int cmd_dispose(struct cli *c, struct err *err)
{
	struct disposing d = { .c = c, .act = cli_option(c, "yes") != NULL };
	struct archive_disposal job = { .authority = cli_option(c, "authority"),
		.words = &policy_words,
		.chosen = chosen,
		.tell = tell,
		.ctx = &d,
		.identities = c->identities,
		.due = cli_option(c, "due") != NULL,
		.act = d.act };
	struct archive_disposed out = { 0 };
	const char *path;
	enum status rc;

	if (c->n_args == 0)
		return cli_bad_usage(c, "dispose", "dispose needs an ARCHIVE", err);
	if (c->n_args == 1 && !job.due)
		return cli_bad_usage(c, "dispose",
			"dispose needs --due, or WORDs that choose messages", err);
	if (d.act && (!job.authority || !*job.authority))
		return cli_bad_usage(c, "dispose",
			"dispose --yes needs --authority: by whose order", err);
	path = cli_archive_path(c->args[0]);
	rc = choice_make(&d.choice, c->args + 1, c->n_args - 1, err);
	if (rc == ST_OK)
		rc = policy_clock_of(c, path, &d.newest, err);
	if (rc == ST_OK)
		rc = archive_dispose(path, &job, &out, err);
	choice_free(&d.choice);
	/* Of several segments some may be done. */
	if (rc == ST_OK || out.records)
		tell_total(c, &d, &out);
	return rc == ST_OK ? ended(c, &out, err) : cli_archive_failed(c, err);
}
