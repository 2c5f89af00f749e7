/* cmd_status.c: where a job stands. */
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/fs.h>
#include <popferry/journal.h>
#include <popferry/text.h>

#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHOWN_MAX = 200, LINE_MAX_BYTES = 512, JSON_MAX = 64 * 1024 };

/* All that is told of a job. */
struct standing {
	const char *path, *account;
	struct journal_totals totals;
	struct journal_run run;
	struct buf dests; /* text or JSON */
	bool has_run;
	char holder[LINE_MAX_BYTES]; /* of the lock; "": no run is at work */
};

/* ---- is a run at work? ---- */

/*
 * The lock itself is not tried: for that moment a run that starts would be turned
 * away. Its file names the process.
 */
static bool alive(const char *holder)
{
	char name[64], host[128], here[128] = "", comm[32] = "";
	long pid;
	FILE *f;

	gethostname(here, sizeof(here) - 1);
	if (sscanf(holder, "process %ld on %127s", &pid, host) != 2 || pid <= 0 ||
		strcmp(host, here) != 0 || (kill((pid_t)pid, 0) < 0 && errno != EPERM))
		return false;
	snprintf(name, sizeof(name), "/proc/%ld/comm", pid);
	f = fopen(name, "re");
	if (!f)
		return true; /* no /proc: the number has to do */
	if (!fgets(comm, sizeof(comm), f))
		comm[0] = '\0';
	fclose(f);
	return text_starts(comm, "popferry");
}

static void find_holder(struct standing *s, int dirfd)
{
	char *text = NULL;
	size_t n = 0;

	if (fs_read(&text, &n, dirfd, "lock", sizeof(s->holder) - 1, NULL) == ST_OK &&
		alive(text))
		text_clean(s->holder, sizeof(s->holder), text, strcspn(text, "\n"));
	free(text);
}

/* ---- for programs ---- */

static void add_text(struct buf *b, const char *name, const char *value)
{
	buf_addf(b, ",\"%s\":", name);
	text_json(b, value, strlen(value));
}

static void add_time(struct buf *b, const char *name, int64_t utc)
{
	char when[24];

	if (utc)
		add_text(b, name, clock_rfc3339(when, utc));
	else
		buf_addf(b, ",\"%s\":null", name);
}

static void add_run(struct buf *b, const struct journal_run *r)
{
	const struct ledger *l = &r->ledger;

	buf_addf(b, ",\"last_run\":{\"id\":%" PRId64, r->id);
	add_time(b, "started", r->started);
	add_time(b, "finished", r->finished);
	if (r->finished) {
		buf_addf(b,
			",\"exit\":%d,\"listed\":%" PRIu64 ",\"known\":%" PRIu64
			",\"stored\":%" PRIu64 ",\"duplicate\":%" PRIu64
			",\"filtered\":%" PRIu64 ",\"failed\":%" PRIu64
			",\"vanished\":%" PRIu64 ",\"left\":%" PRIu64
			",\"bytes\":%" PRIu64 ",\"deleted\":%" PRIu64
			",\"delete_left\":%" PRIu64,
			r->exit, l->listed, l->known, l->stored, l->duplicate,
			l->filtered, l->failed, l->vanished, l->left, l->bytes,
			l->deleted, l->delete_left);
		add_text(b, "reason", r->reason);
	}
	buf_addc(b, '}');
}

static void show_json(const struct standing *s)
{
	const struct journal_totals *t = &s->totals;
	struct buf b = BUF_INIT(JSON_MAX);

	buf_addf(&b, "{\"running\":%s", s->holder[0] ? "true" : "false");
	add_text(&b, "state", s->path);
	add_text(&b, "source", s->account);
	buf_addf(&b, ",\"destinations\":[%s]", buf_str(&s->dests));
	buf_addf(&b,
		",\"messages\":%" PRIu64 ",\"stored\":%" PRIu64 ",\"in_doubt\":%" PRIu64
		",\"duplicate\":%" PRIu64 ",\"filtered\":%" PRIu64
		",\"failed\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"verified\":%" PRIu64
		",\"deleted\":%" PRIu64,
		t->messages, t->stored, t->storing, t->duplicate, t->filtered,
		t->failed, t->bytes, t->verified, t->removed);
	if (s->has_run)
		add_run(&b, &s->run);
	printf("%s}\n", buf_str(&b));
	buf_free(&b);
}

static void failure_json(const char *path, const struct journal_failure *f)
{
	struct buf b = BUF_INIT(JSON_MAX);
	char subject[LINE_MAX_BYTES];

	buf_adds(&b, "{\"uidl\":");
	if (f->uidl)
		text_json(&b, f->uidl, f->uidl_n);
	else
		buf_adds(&b, "null");
	add_text(&b, "state", path);
	add_text(&b, "stage", f->stage);
	add_text(&b, "reason", f->reason);
	add_text(&b, "reply", f->reply);
	add_text(&b, "message_id", f->message_id);
	add_text(&b, "subject", cli_show(subject, sizeof(subject), f->subject));
	printf("%s,\"tries\":%u}\n", buf_str(&b), f->tries);
	buf_free(&b);
}

static void add_dest_json(void *ctx, unsigned sink, const char *identity)
{
	struct buf *b = ctx;

	(void)sink;
	if (b->n)
		buf_addc(b, ',');
	text_json(b, identity, strlen(identity));
}

/* ---- for people ---- */

static void add_dest_text(void *ctx, unsigned sink, const char *identity)
{
	struct buf *b = ctx;

	(void)sink;
	if (b->n)
		buf_adds(b, ", ");
	text_clean_add(b, identity, strlen(identity));
}

static void show_run(const struct standing *s)
{
	const struct journal_run *r = &s->run;
	const struct ledger *l = &r->ledger;
	char a[24], b[24];

	if (s->holder[0]) {
		printf("  a run is at work: %s\n", s->holder);
		return;
	}
	if (!r->finished) {
		printf("  last run: began %s and was cut off; run it again, it goes on\n",
			clock_rfc3339(a, r->started));
		return;
	}
	printf("  last run: %s to %s, exit %d%s%s\n", clock_rfc3339(a, r->started),
		clock_rfc3339(b, r->finished), r->exit, r->reason[0] ? ": " : "",
		r->reason);
	printf("  %" PRIu64 " listed = %" PRIu64 " known + %" PRIu64
	       " stored + %" PRIu64 " duplicate + %" PRIu64 " filtered + %" PRIu64
	       " failed + %" PRIu64 " vanished",
		l->listed, l->known, l->stored, l->duplicate, l->filtered, l->failed,
		l->vanished);
	if (l->left)
		printf(" + %" PRIu64 " left", l->left);
	printf("\n");
}

static void show_text(const struct standing *s)
{
	const struct journal_totals *t = &s->totals;
	char bytes[16];

	printf("%s (%s)\n", s->account, s->path);
	if (s->dests.n)
		printf("  into %s\n", buf_str(&s->dests));
	printf("  %" PRIu64 " message%s: %" PRIu64 " stored (%s), %" PRIu64
	       " duplicate, %" PRIu64 " filtered, %" PRIu64 " failed\n",
		t->messages, text_s(t->messages), t->stored,
		text_bytes(bytes, t->bytes), t->duplicate, t->filtered, t->failed);
	if (t->verified || t->removed)
		printf("  %" PRIu64 " read back and equal; %" PRIu64
		       " deleted at the source\n",
			t->verified, t->removed);
	if (t->storing && s->holder[0])
		printf("  %" PRIu64 " under way\n", t->storing);
	else if (t->storing)
		printf("  %" PRIu64
		       " in doubt: it is not known whether they arrived; the next "
		       "run looks for those that the source still has\n",
			t->storing);
	if (s->has_run)
		show_run(s);
}

static void failure_text(const struct journal_failure *f)
{
	char uidl[128], subject[LINE_MAX_BYTES];

	printf("  failed (%s): %s\n    uidl %s, message-id %s, subject %s, tried %u time%s\n",
		f->stage, f->reason,
		f->uidl ? text_clean(uidl, sizeof(uidl), f->uidl, f->uidl_n) : "none",
		f->message_id[0] ? f->message_id : "none",
		f->subject[0] ? cli_show(subject, sizeof(subject), f->subject) : "none",
		f->tries, text_s(f->tries));
	if (f->reply[0] && !strstr(f->reason, f->reply))
		printf("    the server said: %s\n", f->reply);
}

/* ---- the command ---- */

struct showing {
	const char *path;
	bool json;
	uint64_t n;
};

static void show_failure(void *ctx, const struct journal_failure *f)
{
	struct showing *s = ctx;

	s->n++;
	if (s->json)
		failure_json(s->path, f);
	else if (s->n <= SHOWN_MAX)
		failure_text(f);
}

static enum status show_job(
	const struct cli *c, struct journal *j, struct standing *s, struct err *err)
{
	struct showing failures = { s->path, c->format == LOG_JSON, 0 };
	enum status rc = journal_totals(j, &s->totals, err);

	if (rc != ST_OK)
		return rc;
	s->account = journal_account(j);
	rc = journal_last_run(j, &s->run, err);
	if (rc < 0)
		return rc;
	s->has_run = rc == ST_OK;
	buf_init(&s->dests, JSON_MAX / 2);
	rc = journal_sinks(
		j, failures.json ? add_dest_json : add_dest_text, &s->dests, err);
	if (rc == ST_OK && failures.json)
		show_json(s);
	else if (rc == ST_OK)
		show_text(s);
	buf_free(&s->dests);
	if (rc != ST_OK)
		return rc;
	rc = journal_failures(j, 0, show_failure, &failures, err);
	if (failures.n > SHOWN_MAX && !failures.json)
		printf("  and %" PRIu64 " more; --log-format json shows all\n",
			failures.n - SHOWN_MAX);
	return rc;
}

static enum status show(const struct cli *c, const char *arg, struct err *err)
{
	struct standing s = { 0 };
	struct journal *j = NULL;
	char *path = NULL;
	int dirfd = -1;
	enum status rc = cli_job_dir(arg, &dirfd, &path, err);

	if (rc != ST_OK)
		return rc;
	s.path = path;
	find_holder(&s, dirfd);
	rc = journal_open(&j, dirfd, NULL, true, err);
	if (rc == ST_END)
		rc = err_set(err, ST_DENIED, EX_USAGE,
			faccessat(dirfd, "archive.json", F_OK, 0) < 0
				? "%s is no state directory of a job: it holds no journal"
				: "%s is an archive, and no state directory of a job: "
				  "`popferry stats` and `popferry verify` tell of it",
			path);
	if (rc == ST_OK)
		rc = show_job(c, j, &s, err);
	journal_close(&j);
	close(dirfd);
	free(path);
	return rc < 0 ? rc : ST_OK;
}

static int show_or_complain(const struct cli *c, const char *path, struct err *err)
{
	if (show(c, path, err) == ST_OK)
		return 0;
	fflush(stdout);
	cli_complain(c, err);
	return err->exit;
}

/* One, or all of a name. */
static int show_all(const struct cli *c, const char *arg, struct err *err)
{
	char **paths;
	size_t n, i;
	int code = 0;

	if (cli_jobs_named(arg, &paths, &n, err) != ST_OK) {
		cli_complain(c, err);
		code = err->exit;
	} else if (!n) {
		code = show_or_complain(c, arg, err);
	}
	for (i = 0; i < n; i++)
		code = cli_worse(code, show_or_complain(c, paths[i], err));
	jobs_free(paths, n);
	return code;
}

int cmd_status(struct cli *c, struct err *err)
{
	int code = 0;
	size_t i;

	if (c->n_args == 0) {
		err_set(err, ST_DENIED, EX_USAGE,
			"status needs at least one JOB; try `popferry status --help`");
		cli_complain(c, err);
		return err->exit;
	}
	signal(SIGPIPE, SIG_DFL); /* for `| head` */
	for (i = 0; i < c->n_args; i++)
		code = cli_worse(code, show_all(c, c->args[i], err));
	return code;
}
