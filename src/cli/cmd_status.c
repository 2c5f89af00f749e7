/* cmd_status.c: where a job stands. */
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/journal.h>
#include <popferry/text.h>

#include "cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHOWN_MAX = 200, JSON_MAX = 64 * 1024 };

struct showing {
	bool json;
	uint64_t n;
};

static void show_failure(void *ctx, const struct journal_failure *f)
{
	struct showing *s = ctx;
	char uidl[128];

	s->n++;
	if (s->json) {
		struct buf b = BUF_INIT(JSON_MAX);

		buf_adds(&b, "{\"failure\":");
		text_json(&b, f->reason, strlen(f->reason));
		buf_adds(&b, ",\"stage\":");
		text_json(&b, f->stage, strlen(f->stage));
		buf_adds(&b, ",\"uidl\":");
		text_json(&b, f->uidl ? f->uidl : "", f->uidl_n);
		buf_adds(&b, ",\"message_id\":");
		text_json(&b, f->message_id, strlen(f->message_id));
		printf("%s,\"tries\":%u}\n", buf_str(&b), f->tries);
		buf_free(&b);
		return;
	}
	if (s->n > SHOWN_MAX)
		return;
	printf("  failed at %s: %s\n    uidl %s, message-id %s, subject %s, tried %u time%s\n",
		f->stage, f->reason,
		f->uidl ? text_clean(uidl, sizeof(uidl), f->uidl, f->uidl_n) : "none",
		f->message_id[0] ? f->message_id : "none",
		f->subject[0] ? f->subject : "none", f->tries,
		f->tries == 1 ? "" : "s");
	if (f->reply[0])
		printf("    the server said: %s\n", f->reply);
}

static void show_run(const struct journal_run *r)
{
	const struct ledger *l = &r->ledger;
	char a[24], b[24];

	printf("  last run: %s to %s, exit %d%s%s\n", clock_rfc3339(a, r->started),
		r->finished ? clock_rfc3339(b, r->finished)
			    : "(it did not end by itself)",
		r->exit, r->reason[0] ? ": " : "", r->reason);
	if (r->finished)
		printf("  %" PRIu64 " listed = %" PRIu64 " known + %" PRIu64
		       " stored + %" PRIu64 " duplicate + %" PRIu64
		       " filtered + %" PRIu64 " failed + %" PRIu64
		       " vanished + %" PRIu64 " left\n",
			l->listed, l->known, l->stored, l->duplicate, l->filtered,
			l->failed, l->vanished, l->left);
}

static void show_json(const char *path, const char *account,
	const struct journal_totals *t, const struct journal_run *r)
{
	struct buf b = BUF_INIT(JSON_MAX);

	buf_adds(&b, "{\"state\":");
	text_json(&b, path, strlen(path));
	buf_adds(&b, ",\"source\":");
	text_json(&b, account, strlen(account));
	buf_addf(&b,
		",\"messages\":%" PRIu64 ",\"stored\":%" PRIu64 ",\"in_doubt\":%" PRIu64
		",\"duplicate\":%" PRIu64 ",\"filtered\":%" PRIu64
		",\"failed\":%" PRIu64 ",\"bytes\":%" PRIu64,
		t->messages, t->stored, t->storing, t->duplicate, t->filtered,
		t->failed, t->bytes);
	if (r)
		buf_addf(&b,
			",\"last_exit\":%d,\"finished\":%s,\"listed\":%" PRIu64
			",\"left\":%" PRIu64,
			r->exit, r->finished ? "true" : "false", r->ledger.listed,
			r->ledger.left);
	printf("%s}\n", buf_str(&b));
	buf_free(&b);
}

static enum status show(const struct cli *c, const char *arg, struct err *err)
{
	struct showing s = { c->format == LOG_JSON, 0 };
	struct journal_totals t = { 0 };
	struct journal_run run = { 0 };
	struct journal *j = NULL;
	char *path = NULL, bytes[16];
	int dirfd = -1;
	enum status rc, have;

	rc = cli_job_dir(arg, &dirfd, &path, err);
	if (rc != ST_OK)
		return rc;
	rc = journal_open(&j, dirfd, NULL, true, err);
	if (rc == ST_END)
		rc = err_set(err, ST_DENIED, EX_USAGE, "%s holds no journal", path);
	if (rc == ST_OK)
		rc = journal_totals(j, &t, err);
	if (rc != ST_OK)
		goto out;
	have = journal_last_run(j, &run, err);
	if (s.json) {
		show_json(path, journal_account(j), &t, have == ST_OK ? &run : NULL);
	} else {
		printf("%s (%s)\n", journal_account(j), path);
		printf("  %" PRIu64 " messages: %" PRIu64 " stored (%s), %" PRIu64
		       " in doubt, %" PRIu64 " duplicate, %" PRIu64
		       " filtered, %" PRIu64 " failed\n",
			t.messages, t.stored, text_bytes(bytes, t.bytes), t.storing,
			t.duplicate, t.filtered, t.failed);
		if (have == ST_OK)
			show_run(&run);
	}
	rc = journal_failures(j, 0, show_failure, &s, err);
	if (s.n > SHOWN_MAX && !s.json)
		printf("  and %" PRIu64 " more\n", s.n - SHOWN_MAX);
out:
	journal_close(&j);
	close(dirfd);
	free(path);
	return rc < 0 ? rc : ST_OK;
}

int cmd_status(struct cli *c, struct err *err)
{
	size_t i;

	if (c->n_args == 0)
		err_set(err, ST_DENIED, EX_USAGE, "status needs at least one JOB");
	for (i = 0; i < c->n_args; i++)
		if (show(c, c->args[i], err) != ST_OK)
			break;
	if (i < c->n_args || c->n_args == 0) {
		cli_complain(c, err);
		return err->exit;
	}
	return 0;
}
