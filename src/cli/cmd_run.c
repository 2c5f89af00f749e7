/* cmd_run.c: profiles into jobs. */
#include <popferry/mem.h>

#include "cli.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

static bool is_directory(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* One profile by itself is told of as copy tells of its job. */
static bool is_single(const struct cli *c)
{
	return c->n_args == 1 && !cli_option(c, "jobs") &&
		!(strchr(c->args[0], '/') && is_directory(c->args[0]));
}

static enum status gather(const struct cli *c, struct profiles *p, struct err *err)
{
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < c->n_args; i++) {
		const char *arg = c->args[i];

		/* Without a slash it is the name of a profile, whatever is here. */
		if (strchr(arg, '/') && is_directory(arg))
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
	if (rc != ST_OK && !strchr(profile, '/') && is_directory(profile))
		err_note(err, "for what is in the directory write %s/", profile);
	if (rc == ST_OK)
		rc = cli_apply(c, *out, err);
	if (rc == ST_OK) {
		rc = job_check(*out, err);
		if (rc != ST_OK) /* it names no place in a file */
			err_note(err, "%s", profile);
	}
	if (rc != ST_OK) {
		cli_apply(c, *out, NULL); /* it names the report */
		ferry_refused(c, *out, err);
		job_free(out);
	}
	return rc;
}

/* ---- the command ---- */

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

static void path_of(const void *ctx, size_t i, char *out, size_t cap)
{
	snprintf(out, cap, "%s", ((const struct profiles *)ctx)->v[i]);
}

static int run_many(
	const struct cli *c, const struct profiles *p, unsigned jobs, struct err *err)
{
	struct errand *v = xcalloc(p->n, sizeof(*v));
	enum status rc;
	int code = 0;
	size_t i;

	for (i = 0; i < p->n; i++) {
		struct err why = ERR_INIT;

		v[i].name = p->v[i];
		if (load(c, &v[i].job, p->v[i], &why) == ST_OK)
			v[i].name = v[i].job->name;
		else
			errand_failed(&v[i], &why);
	}
	rc = errands_unique(v, p->n, path_of, p, err);
	if (rc == ST_OK) {
		code = crew_run(c, v, p->n, jobs);
	} else {
		cli_complain(c, err);
		code = err->exit;
	}
	errands_free(v, p->n);
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
	rc = errands_at_once(c, &jobs, err);
	if (rc == ST_OK)
		rc = gather(c, &p, err);
	if (rc != ST_OK) {
		cli_complain(c, err);
		code = err->exit;
	} else if (is_single(c)) {
		code = run_one(c, p.v[0], err);
	} else {
		code = run_many(c, &p, jobs, err);
	}
	while (p.n)
		free(p.v[--p.n]);
	free(p.v);
	return code;
}
