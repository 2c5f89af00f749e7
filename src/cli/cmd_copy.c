/* cmd_copy.c: a job from start to report, and the command copy. */
#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "cli.h"
#include "notary.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { POP3S_PORT = 995, IMAPS_PORT = 993 };

/* ---- what is told at the end ---- */

static void tell_plan(const struct job *job, const struct outcome *o)
{
	char bytes[16];

	printf("%s: %" PRIu64 " listed, %" PRIu64 " known, %" PRIu64
	       " filtered; %" PRIu64 " to copy (%s). Dry run: nothing was done.\n",
		job->name, o->ledger.listed, o->ledger.known, o->ledger.filtered,
		o->plan.todo, text_bytes(bytes, o->plan.todo_bytes));
	if (job->delete != DELETE_NEVER)
		printf("%s: at most %" PRIu64
		       " would be deleted at the source, once they are verified.\n",
			job->name, o->plan.deletable);
}

/* What went to null: is nowhere. */
static bool is_kept(const struct job *job)
{
	return strcmp(job->dest[0].scheme, "null") != 0;
}

static void tell_pace(const struct job *job, const struct outcome *o)
{
	uint64_t n = o->ledger.stored + o->ledger.duplicate;
	double seconds = (double)o->elapsed_ms / 1000;
	const char *end = o->exit != 0 ? ""
		: is_kept(job)         ? "; all are safe"
				       : "; nothing is kept";
	char bytes[16];

	if (n)
		printf("%s: %s in %.1f s, %.0f messages/s%s\n", job->name,
			text_bytes(bytes, o->ledger.bytes), seconds,
			seconds > 0 ? (double)n / seconds : 0, end);
	else if (o->exit == 0)
		printf("%s: nothing new%s\n", job->name, end);
}

/* With --check. */
static void tell_checked(const struct job *job, const struct outcome *o)
{
	size_t i;

	for (i = 0; i < o->n_checked; i++) {
		const struct checked *k = &o->checked[i];

		printf("%s: read back from %s: %" PRIu64 " verified, %" PRIu64
		       " changed, %" PRIu64 " missing, %" PRIu64 " not to be told",
			job->name, k->url, k->verified, k->changed, k->missing,
			k->unknown);
		if (k->disposed)
			printf(", %" PRIu64 " disposed of", k->disposed);
		putchar('\n');
	}
}

const char *ferry_ledger(char *out, size_t cap, const struct ledger *l)
{
	char left[40] = "";

	if (l->left)
		snprintf(left, sizeof(left), " + %" PRIu64 " left", l->left);
	snprintf(out, cap,
		"%" PRIu64 " listed = %" PRIu64 " known + %" PRIu64 " stored + %" PRIu64
		" duplicate + %" PRIu64 " filtered + %" PRIu64 " failed + %" PRIu64
		" vanished%s",
		l->listed, l->known, l->stored, l->duplicate, l->filtered, l->failed,
		l->vanished, left);
	return out;
}

static void tell(const struct job *job, const struct outcome *o)
{
	const struct ledger *l = &o->ledger;
	char text[LEDGER_TEXT];

	printf("%s: %s\n", job->name, ferry_ledger(text, sizeof(text), l));
	tell_pace(job, o);
	tell_checked(job, o);
	if (l->deleted || l->delete_left)
		printf("%s: %" PRIu64 " deleted at the source, %" PRIu64
		       " of those that may go are left there\n",
			job->name, l->deleted, l->delete_left);
	if (o->id_collisions)
		printf("%s: %" PRIu64
		       " message%s a Message-ID with a different one; all were kept\n",
			job->name, o->id_collisions,
			o->id_collisions == 1 ? " shares" : "s share");
}

/* With --report - standard output is the report's. */
bool ferry_tells(const struct cli *c, const struct job *job)
{
	return c->verbosity >= 0 && c->format != LOG_JSON &&
		!(job && job->report && strcmp(job->report, "-") == 0);
}

static void summarise(
	const struct cli *c, const struct job *job, const struct outcome *o)
{
	if (!ferry_tells(c, job))
		return;
	if (job->dry_run && o->exit == 0)
		tell_plan(job, o);
	else if (o->run && (o->exit == 0 || o->ledger.listed))
		tell(job, o); /* what never got to a listing is told by its error */
	fflush(stdout);
}

/* A server that waits for TLS says nothing: better known than a minute later. */
static void warn_of_port(const struct endpoint *end, const char *name)
{
	bool pop3 = text_starts(end->scheme, "pop3");
	char *meaning;

	if (!end->host || end->tls == TLS_IMPLICIT ||
		end->port != (pop3 ? POP3S_PORT : IMAPS_PORT))
		return;
	meaning = xasprintf(
		"on port %u TLS mostly comes first, and this waits for a server that "
		"greets without: %ss:// is the URL for that",
		end->port, pop3 ? "pop3" : "imap");
	log_warn(NULL, "tls-port", LOG_S("job", name), LOG_S("url", end->url),
		LOG_S("meaning", meaning));
	free(meaning);
}

/* What takes safety away is said each time. */
static void warn_of_line(const struct endpoint *end, const char *name)
{
	warn_of_port(end, name);
	if (end->host && end->tls == TLS_NONE)
		log_event(NULL, LV_SAFETY, "no-tls",
			LOG_ARGS(LOG_S("job", name), LOG_S("url", end->url),
				LOG_S("meaning",
					"password and mail cross the network in the clear")));
	if (end->host && end->tls != TLS_NONE && end->tls_min != TLS_MIN_1_2)
		log_warn(NULL, "old-tls", LOG_S("job", name), LOG_S("url", end->url),
			LOG_S("meaning",
				"TLS so old, and keys so short, will do that others may "
				"read password and mail"));
}

/* A place that cannot be written to is better known before hours of work. */
static enum status check_report(const char *path, struct err *err)
{
	const char *slash = path ? strrchr(path, '/') : NULL;
	enum status rc = ST_OK;
	struct stat st;
	char *dir;

	if (!path || strcmp(path, "-") == 0)
		return ST_OK;
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return err_set(err, ST_DENIED, EX_CANTCREAT,
			"--report: %s is a directory; name a file", path);
	if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return ST_OK;
	dir = slash ? xmemdup0(path, (size_t)(slash - path) + 1) : xstrdup(".");
	if (access(dir, W_OK | X_OK) < 0)
		rc = err_sys(err, ST_DENIED, "--report: directory %s", dir);
	free(dir);
	return rc;
}

enum status ferry_ready(const struct job *job, struct err *err)
{
	enum status rc = check_report(job->report, err);
	size_t i;

	if (rc != ST_OK)
		return rc;
	warn_of_line(&job->source, job->name);
	for (i = 0; i < job->n_dest; i++)
		warn_of_line(&job->dest[i], job->name);
	return ST_OK;
}

void ferry_not_begun(struct outcome *o, const struct err *err)
{
	int64_t now = clock_utc();

	*o = (struct outcome){
		.started = now, .finished = now, .exit = err->exit, .err = *err
	};
}

enum status ferry_report(const struct job *job, struct outcome *o, struct err *err)
{
	if (!job->report || report_write(job, o, job->report, err) == ST_OK)
		return ST_OK;
	err_note(err, "the report could not be written");
	if (o->exit == 0)
		o->exit = err->exit;
	return err->status;
}

void ferry_refused(const struct cli *c, const struct job *job, const struct err *why)
{
	struct err err = ERR_INIT;
	struct outcome o;
	enum status rc;

	/* One with a name it does not know yet goes nowhere. */
	if (!job->report || strstr(job->report, "{name}"))
		return;
	ferry_not_begun(&o, why);
	rc = check_report(job->report, &err);
	if (rc == ST_OK)
		rc = ferry_report(job, &o, &err);
	if (rc != ST_OK)
		cli_complain(c, &err);
}

void ferry_log(const struct job *job, const struct outcome *o)
{
	log_info(NULL, "finished", LOG_S("job", job->name),
		LOG_U("exit", (uint64_t)o->exit), LOG_U("listed", o->ledger.listed),
		LOG_U("known", o->ledger.known), LOG_U("stored", o->ledger.stored),
		LOG_U("duplicate", o->ledger.duplicate),
		LOG_U("filtered", o->ledger.filtered),
		LOG_U("failed", o->ledger.failed),
		LOG_U("vanished", o->ledger.vanished), LOG_U("left", o->ledger.left),
		LOG_U("bytes", o->ledger.bytes), LOG_U("deleted", o->ledger.deleted),
		LOG_U("ms", (uint64_t)o->elapsed_ms));
}

int ferry_one(const struct cli *c, const struct job *job)
{
	struct progress_line *line = NULL;
	struct notary *notary = NULL;
	struct engine *e = NULL;
	struct outcome o;
	struct err err = ERR_INIT;

	if (ferry_ready(job, &err) != ST_OK) {
		cli_complain(c, &err);
		return err.exit;
	}
	if (notary_open(&notary, job, &err) != ST_OK) {
		ferry_not_begun(&o, &err);
		cli_complain(c, &err);
		if (ferry_report(job, &o, &err) != ST_OK)
			cli_complain(c, &err);
		return o.exit;
	}
	engine_new(&e, job, NULL);
	stop_on_signals(e);
	progress_begin(&line, c, job->name, e);
	engine_run(e, &o);
	progress_end(&line);
	stop_no_more();
	notary_sign(notary, job, &o, ferry_tells(c, job));
	notary_close(&notary);
	if (ferry_report(job, &o, &err) != ST_OK)
		cli_complain(c, &err);
	if (o.exit != 0 && o.err.text[0])
		cli_complain(c, &o.err);
	ferry_log(job, &o);
	summarise(c, job, &o);
	outcome_release(&o);
	engine_free(&e);
	return o.exit;
}

int cmd_copy(struct cli *c, struct err *err)
{
	enum status rc = ST_OK;
	size_t i;

	if (c->n_args < 2 || c->n_args > 3) {
		rc = err_set(err, ST_DENIED, EX_USAGE,
			"copy needs a SOURCE and one or two DESTs; try `popferry copy --help`");
		goto out;
	}
	rc = job_set(c->job, "source", c->args[0], "SOURCE", err);
	for (i = 1; rc == ST_OK && i < c->n_args; i++)
		rc = job_set(c->job, "dest", c->args[i], "DEST", err);
	if (rc == ST_OK)
		rc = job_check(c->job, err);
	if (rc == ST_OK)
		return ferry_one(c, c->job);
out:
	cli_complain(c, err);
	ferry_refused(c, c->job, err);
	return err->exit;
}
