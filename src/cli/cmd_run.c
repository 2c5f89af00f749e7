/* cmd_run.c: profiles into jobs, and what must not be the same in two of them. */
#include <popferry/mem.h>

#include "cli.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { AT_ONCE_MAX = 1000 };

const struct option run_options[] = {
	{ "jobs", "N", "run at most so many at a time (as -j N); 1 without it" },
	{ NULL, NULL, NULL },
};

/* ---- profiles ---- */

struct profiles {
	char **v;
	size_t n;
};

static void add_profile(struct profiles *p, char *path)
{
	p->v = xreallocarray(p->v, p->n + 1, sizeof(char *));
	p->v[p->n++] = path;
}

static int is_conf(const struct dirent *d)
{
	size_t n = strlen(d->d_name);

	return d->d_name[0] != '.' && n > 5 && strcmp(d->d_name + n - 5, ".conf") == 0;
}

/* All NAME.conf in a directory, by name. */
static enum status add_directory(struct profiles *p, const char *dir, struct err *err)
{
	size_t len = strlen(dir);
	const char *slash = dir[len - 1] == '/' ? "" : "/";
	struct dirent **names;
	int n = scandir(dir, &names, is_conf, alphasort), i;

	if (n < 0)
		return err_sys(err, ST_DENIED, "profiles in %s", dir);
	for (i = 0; i < n; i++) {
		add_profile(p, xasprintf("%s%s%s", dir, slash, names[i]->d_name));
		free(names[i]);
	}
	free(names);
	if (n == 0)
		return err_set(err, ST_DENIED, EX_USAGE,
			"%s holds no profile: no file in it ends in .conf", dir);
	return ST_OK;
}

static enum status gather(const struct cli *c, struct profiles *p, struct err *err)
{
	enum status rc = ST_OK;
	struct stat st;
	size_t i;

	for (i = 0; rc == ST_OK && i < c->n_args; i++) {
		const char *arg = c->args[i];

		/* Without a slash it is the name of a profile, whatever is here. */
		if (strchr(arg, '/') && stat(arg, &st) == 0 && S_ISDIR(st.st_mode))
			rc = add_directory(p, arg, err);
		else
			add_profile(p, xstrdup(arg));
	}
	return rc;
}

static enum status load(
	const struct cli *c, struct job **out, const char *profile, struct err *err)
{
	enum status rc;

	job_new(out);
	rc = job_load(*out, profile, err);
	if (rc == ST_OK)
		rc = cli_apply(c, *out, err);
	if (rc == ST_OK) {
		rc = job_check(*out, err);
		if (rc != ST_OK) /* it names no place in a file */
			err_note(err, "%s", profile);
	}
	if (rc != ST_OK)
		job_free(out);
	return rc;
}

/* ---- what two jobs cannot share ---- */

struct claim {
	char *what;
	size_t job;
};

static int by_what(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;
	int d = strcmp(x->what, y->what);

	return d ? d : (x->job > y->job) - (x->job < y->job);
}

static char *name_of(const struct job *job)
{
	return xstrdup(job->name);
}

static char *state_of(const struct job *job)
{
	return path_canon(job->state);
}

/* Only a file of its own would be written over by the next one. */
static char *report_of(const struct job *job)
{
	struct stat st;

	if (!job->report || strcmp(job->report, "-") == 0 ||
		(lstat(job->report, &st) == 0 && !S_ISREG(st.st_mode)))
		return NULL;
	return path_canon(job->report);
}

static enum status same_state(const char *a, const char *b, const struct job *first,
	const struct job *second, struct err *err)
{
	(void)first;
	return err_set(err, ST_DENIED, EX_USAGE,
		"%s and %s have the same state directory, %s: a job runs once at a "
		"time; with --state write {name} in it",
		a, b, second->state);
}

static enum status same_name(const char *a, const char *b, const struct job *first,
	const struct job *second, struct err *err)
{
	return err_set(err, ST_DENIED, EX_USAGE,
		"%s and %s are both called %s: set another name in one of them; so "
		"that %s goes on where it is, set state = %s there, too",
		a, b, first->name, b, second->state);
}

static enum status same_report(const char *a, const char *b, const struct job *first,
	const struct job *second, struct err *err)
{
	(void)second;
	return err_set(err, ST_DENIED, EX_USAGE,
		"%s and %s would write the same report, %s: write {name} in it, as in "
		"--report {name}.json",
		a, b, first->report);
}

static const struct {
	char *(*of)(const struct job *job); /* NULL: nothing to share */
	enum status (*refuse)(const char *a, const char *b, const struct job *first,
		const struct job *second, struct err *err);
} unique[] = {
	{ state_of, same_state },
	{ name_of, same_name },
	{ report_of, same_report },
};

static enum status check_unique(
	size_t k, const struct errand *v, const struct profiles *p, struct err *err)
{
	struct claim *c = xcalloc(p->n, sizeof(*c));
	enum status rc = ST_OK;
	size_t n = 0, i;

	for (i = 0; i < p->n; i++) {
		c[n].what = v[i].job ? unique[k].of(v[i].job) : NULL;
		c[n].job = i;
		n += c[n].what != NULL;
	}
	qsort(c, n, sizeof(*c), by_what);
	for (i = 1; rc == ST_OK && i < n; i++) {
		size_t a = c[i - 1].job, b = c[i].job;

		if (strcmp(c[i - 1].what, c[i].what) == 0)
			rc = unique[k].refuse(
				p->v[a], p->v[b], v[a].job, v[b].job, err);
	}
	for (i = 0; i < n; i++)
		free(c[i].what);
	free(c);
	return rc;
}

/* ---- the command ---- */

static enum status at_once(const struct cli *c, unsigned *out, struct err *err)
{
	const char *text = cli_option(c, "jobs");
	unsigned long n;
	char *end;

	*out = 1;
	if (!text)
		return ST_OK;
	n = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || n < 1 || n > AT_ONCE_MAX)
		return err_set(err, ST_DENIED, EX_USAGE,
			"--jobs: expected a number from 1 to %d, not \"%.60s\"",
			AT_ONCE_MAX, text);
	*out = (unsigned)n;
	return ST_OK;
}

static int run_one(const struct cli *c, const char *profile, struct err *err)
{
	struct job *job = NULL;
	int code;

	if (load(c, &job, profile, err) != ST_OK) {
		cli_complain(c, err);
		return err->exit;
	}
	code = ferry_one(c, job);
	job_free(&job);
	return code;
}

static int run_many(
	const struct cli *c, const struct profiles *p, unsigned jobs, struct err *err)
{
	struct errand *v = xcalloc(p->n, sizeof(*v));
	enum status rc = ST_OK;
	int code = 0;
	size_t i;

	for (i = 0; i < p->n; i++) {
		v[i].err = (struct err)ERR_INIT;
		v[i].name = load(c, &v[i].job, p->v[i], &v[i].err) == ST_OK
			? v[i].job->name
			: p->v[i];
	}
	for (i = 0; rc == ST_OK && i < N_ELEMENTS(unique); i++)
		rc = check_unique(i, v, p, err);
	if (rc == ST_OK) {
		code = crew_run(c, v, p->n, jobs);
	} else {
		cli_complain(c, err);
		code = err->exit;
	}
	for (i = 0; i < p->n; i++)
		job_free(&v[i].job);
	free(v);
	return code;
}

int cmd_run(struct cli *c, struct err *err)
{
	struct profiles p = { NULL, 0 };
	enum status rc = ST_OK;
	unsigned jobs = 1;
	int code;

	if (c->n_args == 0)
		return cli_bad_usage(c, "run", "run needs at least one PROFILE", err);
	rc = at_once(c, &jobs, err);
	if (rc == ST_OK)
		rc = gather(c, &p, err);
	if (rc != ST_OK) {
		cli_complain(c, err);
		code = err->exit;
	} else if (p.n == 1) {
		code = run_one(c, p.v[0], err);
	} else {
		code = run_many(c, &p, jobs, err);
	}
	while (p.n)
		free(p.v[--p.n]);
	free(p.v);
	return code;
}
