/* cmd_copy.c: copy and run: a job from start to report. */
#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "cli.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- signals ---- */

enum { GRACE_SECONDS = 9 }; /* the promise is ten */

static struct engine *volatile running;
static volatile sig_atomic_t asked;

static void on_signal(int sig)
{
	struct engine *e = running;

	/* The second one means it; and the alarm is for a wait that has no end. */
	if (sig == SIGALRM || asked++)
		_exit(EX_TEMPFAIL);
	if (!e)
		_exit(EX_TEMPFAIL);
	engine_stop(e);
	alarm(GRACE_SECONDS);
}

void stop_on_signals(struct engine *e)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGALRM };
	struct sigaction sa = { .sa_handler = on_signal };
	size_t i;

	running = e;
	sigemptyset(&sa.sa_mask);
	for (i = 0; i < N_ELEMENTS(signals); i++)
		sigaction(signals[i], &sa, NULL);
}

void stop_no_more(void)
{
	running = NULL;
	alarm(0);
}

/* ---- what is told at the end ---- */

static void tell_plan(const struct job *job, const struct outcome *o)
{
	char bytes[16];

	printf("%s: %" PRIu64 " listed, %" PRIu64 " known, %" PRIu64
	       " filtered; %" PRIu64 " to copy (%s). Dry run: nothing was done.\n",
		job->name, o->ledger.listed, o->ledger.known, o->ledger.filtered,
		o->plan.todo, text_bytes(bytes, o->plan.todo_bytes));
	if (job->delete != DELETE_NEVER)
		printf("%s: %" PRIu64
		       " would be deleted at the source once they are verified.\n",
			job->name, o->plan.deletable);
}

static void tell_pace(const struct job *job, const struct outcome *o)
{
	uint64_t n = o->ledger.stored + o->ledger.duplicate;
	double seconds = (double)o->elapsed_ms / 1000;
	const char *end = o->exit == 0 ? "; all are safe" : "";
	char bytes[16];

	if (n)
		printf("%s: %s in %.1f s, %.0f messages/s%s\n", job->name,
			text_bytes(bytes, o->ledger.bytes), seconds,
			seconds > 0 ? (double)n / seconds : 0, end);
	else if (o->exit == 0)
		printf("%s: nothing new%s\n", job->name, end);
}

static void tell(const struct job *job, const struct outcome *o)
{
	const struct ledger *l = &o->ledger;

	printf("%s: %" PRIu64 " listed = %" PRIu64 " known + %" PRIu64
	       " stored + %" PRIu64 " duplicate + %" PRIu64 " filtered + %" PRIu64
	       " failed + %" PRIu64 " vanished",
		job->name, l->listed, l->known, l->stored, l->duplicate, l->filtered,
		l->failed, l->vanished);
	if (l->left)
		printf(" + %" PRIu64 " left", l->left);
	printf("\n");
	tell_pace(job, o);
	if (l->deleted || l->delete_left)
		printf("%s: %" PRIu64 " deleted at the source, %" PRIu64
		       " of those that may go are left there\n",
			job->name, l->deleted, l->delete_left);
	if (o->id_collisions)
		printf("%s: %" PRIu64
		       " messages share a Message-ID with a different one; all were kept\n",
			job->name, o->id_collisions);
}

/* With --report - standard output is the report's. */
static void summarise(
	const struct cli *c, const struct job *job, const struct outcome *o)
{
	if (c->verbosity < 0 || c->format == LOG_JSON ||
		(job->report && strcmp(job->report, "-") == 0))
		return;
	if (job->dry_run && o->exit == 0)
		tell_plan(job, o);
	else if (o->run && (o->exit == 0 || o->ledger.listed))
		tell(job, o); /* what never got to a listing is told by its error */
	fflush(stdout);
}

static void warn_plain(const struct endpoint *end, const struct log *log)
{
	if (end->host && end->tls == TLS_NONE)
		log_warn(log, "no-tls", LOG_S("url", end->url),
			LOG_S("meaning",
				"password and mail cross the network in the clear"));
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

static int move(const struct cli *c, struct job *job)
{
	struct progress_line *line = NULL;
	struct engine *e = NULL;
	struct outcome o;
	struct err err = ERR_INIT;
	size_t i;

	if (check_report(job->report, &err) != ST_OK) {
		cli_complain(c, &err);
		return err.exit;
	}
	warn_plain(&job->source, NULL);
	for (i = 0; i < job->n_dest; i++)
		warn_plain(&job->dest[i], NULL);
	engine_new(&e, job, NULL);
	stop_on_signals(e);
	progress_begin(&line, c, job->name, e);
	engine_run(e, &o);
	progress_end(&line);
	stop_no_more();
	if (job->report && report_write(job, &o, job->report, &err) != ST_OK) {
		err_note(&err, "the report could not be written");
		cli_complain(c, &err);
		if (o.exit == 0)
			o.exit = err.exit;
	}
	if (o.exit != 0 && o.err.text[0])
		cli_complain(c, &o.err);
	log_info(NULL, "finished", LOG_S("job", job->name),
		LOG_U("exit", (uint64_t)o.exit), LOG_U("listed", o.ledger.listed),
		LOG_U("known", o.ledger.known), LOG_U("stored", o.ledger.stored),
		LOG_U("duplicate", o.ledger.duplicate),
		LOG_U("filtered", o.ledger.filtered), LOG_U("failed", o.ledger.failed),
		LOG_U("vanished", o.ledger.vanished), LOG_U("left", o.ledger.left),
		LOG_U("bytes", o.ledger.bytes), LOG_U("deleted", o.ledger.deleted),
		LOG_U("ms", (uint64_t)o.elapsed_ms));
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
		return move(c, c->job);
out:
	cli_complain(c, err);
	return err->exit;
}

static int run_profile(struct cli *c, const char *profile, struct err *err)
{
	struct job *job = NULL;
	enum status rc;
	int code;

	job_new(&job);
	rc = job_load(job, profile, err);
	if (rc == ST_OK)
		rc = cli_apply(c, job, err);
	if (rc == ST_OK) {
		rc = job_check(job, err);
		if (rc != ST_OK) /* it names no place in a file */
			err_note(err, "%s", profile);
	}
	if (rc == ST_OK) {
		code = move(c, job);
	} else {
		cli_complain(c, err);
		code = err->exit;
	}
	job_free(&job);
	return code;
}

int cmd_run(struct cli *c, struct err *err)
{
	int code = 0;
	size_t i;

	if (c->n_args == 0) {
		err_set(err, ST_DENIED, EX_USAGE,
			"run needs at least one PROFILE; try `popferry run --help`");
		cli_complain(c, err);
		return err->exit;
	}
	for (i = 0; i < c->n_args && !asked; i++)
		code = cli_worse(code, run_profile(c, c->args[i], err));
	return asked ? cli_worse(code, EX_TEMPFAIL) : code;
}
