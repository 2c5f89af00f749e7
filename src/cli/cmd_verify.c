/* cmd_verify.c: an archive, or all destinations of a job, read back. */
#include <popferry/archive.h>
#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "cli.h"
#include "marks.h"
#include "verify.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { JSON_MAX = 256 * 1024 };

const struct option verify_options[] = {
	{ "full", NULL,
		"of an ARCHIVE everything is read: so it is without this, too" },
	{ "quick", NULL, "only files, seals and signatures; no message is unpacked" },
	{ "sample", "N", "the same, and N messages from all over it" },
	{ "trust", "FILE", "its seals must be signed by these, or their CAs" },
	{ "tsa-ca", "FILE", "and timestamped by a TSA of these CAs" },
	{ "against", "SEAL",
		"a seal that was kept, or its SHA-256, must be one of the ARCHIVE's" },
	{ "server", NULL, "compare an ARCHIVE with what a POP3-URL lists now" },
	{ NULL, NULL, NULL },
};

/* ---- a job ---- */

static void show_finding(void *ctx, const struct finding *f)
{
	const struct cli *c = ctx;
	char uidl[128] = "none";

	if (f->uidl)
		text_clean(uidl, sizeof(uidl), f->uidl, f->uidl_n);
	if (c->format == LOG_JSON)
		log_error(NULL, f->kind, LOG_S("dest", f->dest),
			LOG_S("folder", f->folder), LOG_U("place", f->place),
			LOG_B("uidl", f->uidl ? f->uidl : "", f->uidl_n),
			LOG_S("meaning", f->text));
	else
		fprintf(stderr,
			"popferry: %s: message with UIDL %s, number %" PRIu64
			" in \"%s\" at %s: %s\n",
			f->kind, uidl, f->place, f->folder, f->dest, f->text);
}

static void verdict_json(
	struct buf *b, const struct job *job, const struct verification *v)
{
	size_t i;

	buf_addf(b, "{\"good\":%s,\"exit\":%d", v->exit ? "false" : "true", v->exit);
	marks_add(b, "reason", v->exit ? v->err.text : "");
	marks_add(b, "version", VERSION);
	marks_add(b, "state", job->state);
	marks_add(b, "source", v->account ? v->account : "");
	buf_adds(b, ",\"destinations\":[");
	for (i = 0; i < v->n; i++) {
		const struct checked *k = &v->dest[i];

		buf_adds(b, i ? ",{\"url\":" : "{\"url\":");
		text_json(b, k->url, strlen(k->url));
		buf_addf(b,
			",\"verified\":%" PRIu64 ",\"changed\":%" PRIu64
			",\"missing\":%" PRIu64 ",\"unknown\":%" PRIu64
			",\"disposed\":%" PRIu64 "}",
			k->verified, k->changed, k->missing, k->unknown, k->disposed);
	}
	buf_adds(b, "]}\n");
}

static void verdict_text(const struct verification *v)
{
	size_t i;

	for (i = 0; i < v->n; i++) {
		const struct checked *k = &v->dest[i];

		printf("%s: %" PRIu64 " verified, %" PRIu64 " changed, %" PRIu64
		       " missing, %" PRIu64 " not to be told",
			k->url, k->verified, k->changed, k->missing, k->unknown);
		if (k->disposed)
			printf(", %" PRIu64 " disposed of", k->disposed);
		printf("%s\n",
			v->exit               ? ""
				: k->disposed ? ": all else is there"
					      : ": all is there");
	}
}

static enum status tell_verdict(const struct cli *c, const struct job *job,
	const struct verification *v, struct err *err)
{
	bool to_stdout = job->report && strcmp(job->report, "-") == 0;
	struct buf b = BUF_INIT(JSON_MAX);
	enum status rc = ST_OK;

	verdict_json(&b, job, v);
	if (job->report)
		rc = report_put(job->report, &b, err);
	if (!to_stdout && c->verbosity >= 0) {
		if (c->format == LOG_JSON)
			fwrite(buf_str(&b), 1, b.n, stdout);
		else if (v->exit == 0 || v->exit == EX_DATAERR)
			verdict_text(v);
	}
	buf_free(&b);
	return rc;
}

static int verify_job(struct cli *c, struct job *job, struct err *err)
{
	struct progress_line *line = NULL;
	struct engine *e = NULL;
	struct verification v;

	engine_new(&e, job, NULL);
	stop_on_signals(e);
	progress_begin(&line, c, job->name, e);
	engine_verify(e, &v, show_finding, c);
	progress_end(&line);
	stop_no_more();
	if (tell_verdict(c, job, &v, err) != ST_OK) {
		err_note(err, "the report could not be written");
		cli_complain(c, err);
		v.exit = v.exit ? v.exit : err->exit;
	}
	if (v.exit) {
		fflush(stdout);
		cli_complain(c, &v.err);
	}
	free(v.account);
	engine_free(&e);
	return v.exit;
}

/* ---- what a job's state directory says of its destinations ---- */

struct known {
	struct job *job;
	struct err *err;
	enum status rc;
};

static void know(void *ctx, unsigned sink, const char *identity)
{
	struct known *k = ctx;

	(void)sink;
	if (k->rc != ST_OK)
		return;
	if (text_starts(identity, "archive:") || text_same(identity, "null:"))
		k->rc = job_set(k->job, "dest", identity, "the journal", k->err);
	else
		k->rc = err_set(k->err, ST_DENIED, EX_USAGE,
			"the journal does not tell how to reach %s: name it as for copy, "
			"as in `popferry verify DIR imaps://user@host/`",
			identity);
}

static enum status known_dests(struct job *job, const char *path, struct err *err)
{
	struct known k = { job, err, ST_OK };
	int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct journal *j = NULL;
	enum status rc;

	if (dirfd < 0)
		return err_sys(err, ST_DENIED, "%s", path);
	rc = journal_open(&j, dirfd, NULL, true, err);
	if (rc == ST_END)
		rc = err_set(err, ST_DENIED, EX_USAGE,
			"%s is no state directory of a job: its journal is empty",
			path);
	if (rc == ST_OK)
		rc = journal_sinks(j, know, &k, err);
	journal_close(&j);
	close(dirfd);
	return rc == ST_OK ? k.rc : rc;
}

static int verify_state(struct cli *c, const char *path, struct err *err)
{
	enum status rc = job_set(c->job, "state", path, "JOB", err);
	size_t i;

	if (rc == ST_OK)
		rc = job_set(c->job, "name", "verify", "JOB", err);
	for (i = 1; rc == ST_OK && i < c->n_args; i++)
		rc = job_set(c->job, "dest", c->args[i], "DEST", err);
	if (rc == ST_OK && c->n_args == 1)
		rc = known_dests(c->job, path, err);
	if (rc == ST_OK)
		rc = job_check_ends(c->job, err);
	if (rc == ST_OK)
		return verify_job(c, c->job, err);
	cli_complain(c, err);
	return err->exit;
}

static int verify_profile(struct cli *c, const char *profile, struct err *err)
{
	struct job *job = NULL;
	enum status rc = ST_OK;
	int code;
	size_t i;

	job_new(&job);
	rc = job_load(job, profile, err);
	/* That file is for the ledger of a copy. */
	free(job->report);
	job->report = NULL;
	if (rc == ST_OK)
		rc = cli_apply(c, job, err);
	for (i = 1; rc == ST_OK && i < c->n_args; i++)
		rc = job_set(job, "dest", c->args[i], "DEST", err);
	if (rc == ST_OK) {
		rc = job_check(job, err);
		if (rc != ST_OK)
			err_note(err, "%s", profile);
	}
	if (rc == ST_OK) {
		code = verify_job(c, job, err);
	} else {
		cli_complain(c, err);
		code = err->exit;
	}
	job_free(&job);
	return code;
}

/* ---- which of them is it? ---- */

static bool has_file(const char *dir, const char *name)
{
	char *path = xasprintf("%s/%s", dir, name);
	bool there = access(path, F_OK) == 0;

	free(path);
	return there;
}

/* A name that is nothing here may be a profile's. */
static bool is_profile(const char *arg)
{
	size_t n = strlen(arg);
	struct stat st;

	if (stat(arg, &st) == 0)
		return !S_ISDIR(st.st_mode);
	return (n > 5 && strcmp(arg + n - 5, ".conf") == 0) || job_has_profile(arg);
}

/* The state directory that is meant, or NULL. */
static enum status find_state(const char *arg, char **state, struct err *err)
{
	enum status rc = ST_OK;
	char **paths = NULL;
	size_t n = 0;

	*state = has_file(arg, "journal.sqlite") ? xstrdup(arg) : NULL;
	if (!*state)
		rc = cli_jobs_named(arg, &paths, &n, err);
	if (n == 1)
		*state = xstrdup(paths[0]);
	if (n > 1)
		rc = err_set(err, ST_DENIED, EX_USAGE,
			"%zu jobs are called %s; name the state directory of one, which "
			"`popferry status %s` shows, such as %s",
			n, arg, arg, paths[0]);
	jobs_free(paths, n);
	return rc;
}

static int verify_any_job(struct cli *c, const char *state, struct err *err)
{
	if (c->n_options)
		return cli_bad_usage(c, "verify",
			"--full, --quick, --sample, --trust, --tsa-ca and --against are for "
			"an ARCHIVE",
			err);
	return state ? verify_state(c, state, err) : verify_profile(c, c->args[0], err);
}

static bool has_source(const struct cli *c)
{
	size_t i;

	for (i = 0; i < c->n_settings; i += 2)
		if (text_starts(c->settings[i], "source-"))
			return true;
	return false;
}

int cmd_verify(struct cli *c, struct err *err)
{
	const char *arg = c->n_args ? c->args[0] : NULL;
	char *state;
	enum status rc;
	int code;

	if (!arg)
		return cli_bad_usage(
			c, "verify", "verify needs an ARCHIVE or a JOB", err);
	if (cli_option(c, "server"))
		return c->n_options > 2
			? cli_bad_usage(c, "verify",
				  "--server only compares listings: it goes without "
				  "--full, --quick, --sample, --trust, --tsa-ca and "
				  "--against",
				  err)
			: verify_server(c, err);
	if (has_source(c))
		return cli_bad_usage(
			c, "verify", "--source- options go with --server", err);
	if (text_starts(arg, "archive:") || has_file(arg, "archive.json"))
		return verify_archive(c, cli_archive_path(arg), err);
	rc = find_state(arg, &state, err);
	if (rc != ST_OK) {
		cli_complain(c, err);
		return err->exit;
	}
	code = state || is_profile(arg) ? verify_any_job(c, state, err)
					: verify_archive(c, arg, err);
	free(state);
	return code;
}
