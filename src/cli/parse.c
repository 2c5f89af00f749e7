/* parse.c: the command line. Settings come from the table in config. */
#include <popferry/fs.h>
#include <popferry/mem.h>

#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum status bad(struct err *err, const char *option, const char *expected)
{
	return err_set(err, ST_DENIED, EX_USAGE, "%s: expected %s", option, expected);
}

static enum status set_format(struct cli *c, const char *v, struct err *err)
{
	if (strcmp(v, "text") == 0)
		c->format = LOG_TEXT;
	else if (strcmp(v, "json") == 0)
		c->format = LOG_JSON;
	else
		return bad(err, "--log-format", "text or json");
	return ST_OK;
}

static enum status set_progress(struct cli *c, const char *v, struct err *err)
{
	static const char *const words[] = { "auto", "always", "never" };
	size_t i;

	for (i = 0; i < N_ELEMENTS(words); i++)
		if (strcmp(v, words[i]) == 0) {
			c->progress = (enum progress_mode)i;
			return ST_OK;
		}
	return bad(err, "--progress", "auto, always or never");
}

static const struct {
	const char *name;
	enum status (*set)(struct cli *c, const char *value, struct err *err);
} general[] = {
	{ "log-format", set_format },
	{ "progress", set_progress },
};

static const struct setting_help *setting(const char *name)
{
	size_t n, i;
	const struct setting_help *s = job_settings(&n);

	for (i = 0; i < n; i++)
		if (s[i].option && strcmp(s[i].name, name) == 0)
			return &s[i];
	return NULL;
}

static enum status set_setting(
	struct cli *c, const char *name, const char *value, struct err *err)
{
	char where[128];

	snprintf(where, sizeof(where), "--%s", name);
	c->settings = xreallocarray(c->settings, c->n_settings + 2, sizeof(char *));
	c->settings[c->n_settings++] = xstrdup(name);
	c->settings[c->n_settings++] = xstrdup(value);
	return job_set(c->job, name, value, where, err);
}

/* One long option; *used is set when it took the next word as its value. */
static enum status long_option(struct cli *c, const struct command *cmd,
	const char *word, const char *next, bool *used, struct err *err)
{
	const char *eq = strchr(word, '='), *value;
	char *name = eq ? xmemdup0(word, (size_t)(eq - word)) : xstrdup(word);
	const struct setting_help *s = cmd->settings ? setting(name) : NULL;
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; i < N_ELEMENTS(general); i++)
		if (strcmp(general[i].name, name) == 0)
			break;
	value = eq ? eq + 1 : next;
	*used = false;
	if (!s && i == N_ELEMENTS(general)) {
		rc = err_set(err, ST_DENIED, EX_USAGE,
			"--%s is no option of %s; try `popferry %s --help`", name,
			cmd->name, cmd->name);
	} else if (s && !s->argument) {
		rc = set_setting(c, name, eq ? value : "yes", err);
	} else if (!value) {
		rc = err_set(err, ST_DENIED, EX_USAGE, "--%s needs a value", name);
	} else {
		*used = !eq;
		rc = s ? set_setting(c, name, value, err)
		       : general[i].set(c, value, err);
	}
	free(name);
	return rc;
}

static enum status short_options(struct cli *c, const char *word, struct err *err)
{
	for (; *word; word++) {
		if (*word == 'v')
			c->verbosity = c->verbosity < 0 ? 1 : c->verbosity + 1;
		else if (*word == 'q')
			c->verbosity = -1;
		else
			return err_set(
				err, ST_DENIED, EX_USAGE, "-%c is no option", *word);
	}
	return ST_OK;
}

enum status cli_parse(struct cli *c, const struct command *cmd, int argc, char **argv,
	struct err *err)
{
	bool only_args = false, used;
	enum status rc = ST_OK;
	int i;

	*c = (struct cli){ 0 };
	job_new(&c->job);
	c->args = xcalloc((size_t)argc + 1, sizeof(char *));
	for (i = 0; rc == ST_OK && i < argc; i++) {
		char *w = argv[i];

		if (only_args || w[0] != '-' || w[1] == '\0') {
			c->args[c->n_args++] = w;
		} else if (strcmp(w, "--") == 0) {
			only_args = true;
		} else if (w[1] == '-') {
			rc = long_option(c, cmd, w + 2,
				i + 1 < argc ? argv[i + 1] : NULL, &used, err);
			i += used;
		} else {
			rc = short_options(c, w + 1, err);
		}
	}
	return rc;
}

enum status cli_apply(const struct cli *c, struct job *job, struct err *err)
{
	char where[128];
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < c->n_settings; i += 2) {
		snprintf(where, sizeof(where), "--%s", c->settings[i]);
		rc = job_set(job, c->settings[i], c->settings[i + 1], where, err);
	}
	return rc;
}

void cli_release(struct cli *c)
{
	size_t i;

	for (i = 0; i < c->n_settings; i++)
		free(c->settings[i]);
	free(c->settings);
	free(c->args);
	job_free(&c->job);
}

void cli_complain(const struct cli *c, const struct err *err)
{
	if (c->format == LOG_JSON) {
		log_error(NULL, "error", LOG_S("text", err->text),
			LOG_S("reply", err->reply), LOG_U("exit", (uint64_t)err->exit));
		return;
	}
	fprintf(stderr, "popferry: %s\n", err->text);
	if (err->reply[0] && !strstr(err->text, err->reply))
		fprintf(stderr, "popferry: the server said: %s\n", err->reply);
}

enum status cli_job_dir(const char *arg, int *dirfd, char **path, struct err *err)
{
	struct job *job = NULL;
	enum status rc;

	*path = xstrdup(arg);
	*dirfd = open(arg, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*dirfd >= 0)
		return ST_OK;
	job_new(&job);
	rc = job_load(job, arg, err);
	if (rc == ST_OK)
		rc = job_check(job, err);
	if (rc == ST_OK) {
		free(*path);
		*path = xstrdup(job->state);
		*dirfd = open(job->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (*dirfd < 0 && errno == ENOENT)
			rc = err_set(err, ST_DENIED, EX_USAGE,
				"%s has not run yet (no %s)", arg, job->state);
		else if (*dirfd < 0)
			rc = err_sys(err, ST_DENIED, "%s", job->state);
	}
	job_free(&job);
	if (rc != ST_OK) {
		free(*path);
		*path = NULL;
	}
	return rc;
}
