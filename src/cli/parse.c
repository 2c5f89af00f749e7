/* parse.c: the command line. Settings come from the table in config. */
#include <popferry/buf.h>
#include <popferry/crypt.h>
#include <popferry/mail.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHOWN_MAX = 64 * 1024 };

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

static bool takes(const struct command *cmd, const char *name)
{
	bool end = strcmp(name, "source") == 0 || strcmp(name, "dest") == 0;

	switch (cmd->takes) {
	case TAKES_ALL:
	case TAKES_ROWS:
		return true;
	case TAKES_JOB: /* source and destinations are its arguments */
		return !end;
	case TAKES_IDENTITY:
		return text_starts(name, "identity");
	case TAKES_ENDS:
	case TAKES_SERVER:
		return text_starts(name, "source-") || text_starts(name, "dest-") ||
			strcmp(name, "ca-file") == 0 || strcmp(name, "trace") == 0 ||
			strcmp(name, "timeout") == 0 ||
			(cmd->takes == TAKES_ENDS &&
				(strcmp(name, "report") == 0 ||
					text_starts(name, "identity")));
	case TAKES_NOTHING:
		break;
	}
	return false;
}

const struct setting_help *cli_setting(const struct command *cmd, const char *name)
{
	size_t n, i;
	const struct setting_help *s = job_settings(&n);

	for (i = 0; i < n; i++)
		if (s[i].option && strcmp(s[i].name, name) == 0)
			return takes(cmd, name) ? &s[i] : NULL;
	return NULL;
}

static enum status set_setting(struct cli *c, const struct command *cmd,
	const char *name, const char *value, struct err *err)
{
	char where[128];

	snprintf(where, sizeof(where), "--%s", name);
	c->settings = xreallocarray(c->settings, c->n_settings + 2, sizeof(char *));
	c->settings[c->n_settings++] = xstrdup(name);
	c->settings[c->n_settings++] = xstrdup(value);
	if (cmd->takes == TAKES_ROWS && strchr(value, '{'))
		return ST_OK; /* a row will say what it is */
	return job_set(c->job, name, value, where, err);
}

static const struct option *own_option(const struct command *cmd, const char *name)
{
	const struct option *o;

	for (o = cmd->options; o && o->name; o++)
		if (strcmp(o->name, name) == 0)
			return o;
	return NULL;
}

static void set_option(struct cli *c, const char *name, const char *value)
{
	c->options = xreallocarray(c->options, c->n_options + 2, sizeof(char *));
	c->options[c->n_options++] = xstrdup(name);
	c->options[c->n_options++] = xstrdup(value);
}

const char *cli_option(const struct cli *c, const char *name)
{
	size_t i;

	for (i = c->n_options; i > 0; i -= 2) /* the last one wins */
		if (strcmp(c->options[i - 2], name) == 0)
			return c->options[i - 1];
	return NULL;
}

/* Never what follows it: that may be a password. */
static enum status unknown_option(
	const struct command *cmd, const char *name, struct err *err)
{
	struct nearest near = NEAREST(name);
	const struct option *o;
	const struct setting_help *s;
	size_t n, i = strlen(name), k = strlen("password");

	if (cmd->takes >= TAKES_SERVER && i >= k &&
		strcmp(name + i - k, "password") == 0)
		return err_set(err, ST_DENIED, EX_USAGE,
			"--%s: passwords do not stand on command lines, which everybody on "
			"this machine can read; use --source-password-file, -command or "
			"-env (or --dest-...)",
			name);
	s = job_settings(&n);
	for (i = 0; i < n; i++)
		if (s[i].option && takes(cmd, s[i].name))
			nearest_offer(&near, s[i].name);
	for (o = cmd->options; o && o->name; o++)
		nearest_offer(&near, o->name);
	for (i = 0; i < N_ELEMENTS(general); i++)
		nearest_offer(&near, general[i].name);
	if (near.best)
		return err_set(err, ST_DENIED, EX_USAGE,
			"--%s is no option of %s; did you mean --%s?", name, cmd->name,
			near.best);
	return err_set(err, ST_DENIED, EX_USAGE,
		"--%s is no option of %s; try `popferry %s --help`", name, cmd->name,
		cmd->name);
}

/* One long option; *used is set when it took the next word as its value. */
static enum status long_option(struct cli *c, const struct command *cmd,
	const char *word, const char *next, bool *used, struct err *err)
{
	const char *eq = strchr(word, '='), *value;
	char *name = eq ? xmemdup0(word, (size_t)(eq - word)) : xstrdup(word);
	const struct setting_help *s = cli_setting(cmd, name);
	const struct option *o = own_option(cmd, name);
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; i < N_ELEMENTS(general); i++)
		if (strcmp(general[i].name, name) == 0)
			break;
	value = eq ? eq + 1 : next;
	*used = false;
	if (!s && !o && i == N_ELEMENTS(general)) {
		rc = unknown_option(cmd, name, err);
	} else if (s && !s->argument) {
		rc = set_setting(c, cmd, name, eq ? value : "yes", err);
	} else if (o && !o->argument && !eq) {
		set_option(c, name, "");
	} else if (o && !o->argument) {
		rc = err_set(err, ST_DENIED, EX_USAGE, "--%s takes no value", name);
	} else if (!value) {
		rc = err_set(err, ST_DENIED, EX_USAGE, "--%s needs a value", name);
	} else if (o) {
		*used = !eq;
		set_option(c, name, value);
	} else {
		*used = !eq;
		rc = s ? set_setting(c, cmd, name, value, err)
		       : general[i].set(c, value, err);
	}
	free(name);
	return rc;
}

/* -j8, -j 8: for a command that has --jobs. */
static enum status set_jobs(
	struct cli *c, const char *value, const char *next, bool *used, struct err *err)
{
	*used = !*value;
	if (*used)
		value = next;
	if (!value)
		return err_set(err, ST_DENIED, EX_USAGE, "-j needs a number");
	set_option(c, "jobs", value);
	return ST_OK;
}

static enum status short_options(struct cli *c, const struct command *cmd,
	const char *word, const char *next, bool *used, struct err *err)
{
	*used = false;
	for (; *word; word++) {
		if (*word == 'j' && own_option(cmd, "jobs"))
			return set_jobs(c, word + 1, next, used, err);
		if (*word == 'v')
			c->verbosity = c->verbosity < 0 ? 1 : c->verbosity + 1;
		else if (*word == 'q')
			c->verbosity = -1;
		else
			return err_set(err, ST_DENIED, EX_USAGE,
				"-%s is no option of %s; try `popferry %s --help`",
				word, cmd->name, cmd->name);
	}
	return ST_OK;
}

/* Only what says so for certain: the parser comes after, and may complain. */
enum log_format cli_format(int argc, char **argv)
{
	int i;

	for (i = 2; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--log-format=json") == 0 ||
			(strcmp(argv[i], "--log-format") == 0 && argv[i + 1] &&
				strcmp(argv[i + 1], "json") == 0))
			return LOG_JSON;
	return LOG_TEXT;
}

/* One option, in one word or two. */
static enum status any_option(struct cli *c, const struct command *cmd,
	const char *word, const char *next, bool *used, struct err *err)
{
	if (word[1] == '-')
		return long_option(c, cmd, word + 2, next, used, err);
	return short_options(c, cmd, word + 1, next, used, err);
}

/* What stands behind a wrong option is read, too: it may be where the report goes. */
enum status cli_parse(struct cli *c, const struct command *cmd, int argc, char **argv,
	struct err *err)
{
	bool only_args = false, used;
	enum status rc = ST_OK;
	int i;

	job_new(&c->job);
	c->args = xcalloc((size_t)argc + 1, sizeof(char *));
	for (i = 0; i < argc; i++) {
		struct err why = ERR_INIT;
		char *w = argv[i];

		if (only_args || w[0] != '-' || w[1] == '\0') {
			c->args[c->n_args++] = w;
		} else if (strcmp(w, "--") == 0) {
			only_args = true;
		} else {
			if (any_option(c, cmd, w, argv[i + 1], &used, &why) != ST_OK &&
				rc == ST_OK) {
				*err = why;
				rc = why.status;
			}
			i += used;
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

	identities_close(&c->identities);
	for (i = 0; i < c->n_settings; i++)
		free(c->settings[i]);
	free(c->settings);
	for (i = 0; i < c->n_options; i++)
		free(c->options[i]);
	free(c->options);
	free(c->args);
	job_free(&c->job);
}

/* A long reply is kept clipped, so its end is no part of the text. */
static bool told(const struct err *err)
{
	char start[ERR_REPLY];
	size_t n;

	snprintf(start, sizeof(start), "%s", err->reply);
	n = strlen(start);
	if (n > 3 && strcmp(start + n - 3, "...") == 0)
		start[n - 3] = '\0';
	return strstr(err->text, start) != NULL;
}

void cli_complain(const struct cli *c, const struct err *err)
{
	if (c->format == LOG_JSON) {
		log_error(NULL, "error", LOG_S("text", err->text),
			LOG_S("reply", err->reply), LOG_U("exit", (uint64_t)err->exit));
		return;
	}
	fprintf(stderr, "popferry: %s\n", err->text);
	if (!told(err))
		fprintf(stderr, "popferry: the server said: %s\n", err->reply);
}

int cli_bad_usage(
	const struct cli *c, const char *command, const char *text, struct err *err)
{
	err_set(err, ST_DENIED, EX_USAGE, "%s; try `popferry %s --help`", text,
		command);
	cli_complain(c, err);
	return err->exit;
}

/* Which of two exit codes a scheduler must see: what a person must fix first. */
int cli_worse(int a, int b)
{
	static const int order[] = { 0, EX_PARTIAL, EX_TEMPFAIL, EX_UNAVAILABLE,
		EX_NOHOST, EX_PROTOCOL, EX_DATAERR, EX_NOPERM, EX_USAGE, EX_CANTCREAT,
		EX_IOERR, EX_CONFIG, EX_SOFTWARE };
	size_t i, ra = N_ELEMENTS(order), rb = ra;

	for (i = 0; i < N_ELEMENTS(order); i++) {
		if (order[i] == a)
			ra = i;
		if (order[i] == b)
			rb = i;
	}
	return ra >= rb ? a : b;
}

const char *cli_show(char *out, size_t cap, const char *header)
{
	struct buf b = BUF_INIT(SHOWN_MAX);

	if (mime_decode(header, strlen(header), &b))
		text_clean(out, cap, buf_str(&b), b.n);
	else
		text_clean(out, cap, header, strlen(header));
	buf_free(&b);
	return out;
}

static enum status profile_state(const char *arg, char **path, struct err *err)
{
	struct job *job = NULL;
	enum status rc;

	job_new(&job);
	rc = job_load(job, arg, err);
	if (rc == ST_OK) {
		rc = job_check(job, err);
		if (rc != ST_OK)
			err_note(err, "%s", arg);
	}
	if (rc == ST_OK)
		*path = xstrdup(job->state);
	job_free(&job);
	return rc;
}

enum status cli_jobs_named(const char *arg, char ***paths, size_t *n, struct err *err)
{
	*paths = NULL;
	*n = 0;
	if (access(arg, F_OK) == 0 || job_has_profile(arg))
		return ST_OK;
	return jobs_named(arg, paths, n, err);
}

enum status cli_job_dir(const char *arg, int *dirfd, char **path, struct err *err)
{
	enum status rc;

	*path = NULL;
	*dirfd = open(arg, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*dirfd >= 0) {
		*path = xstrdup(arg);
		return ST_OK;
	}
	rc = profile_state(arg, path, err);
	if (rc != ST_OK) {
		if (!strchr(arg, '/') && !job_has_profile(arg))
			err_note(err,
				"%s is no directory here, no job that has run and no "
				"profile",
				arg);
		return rc;
	}
	*dirfd = open(*path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*dirfd >= 0)
		return ST_OK;
	if (errno == ENOENT)
		rc = err_set(err, ST_DENIED, EX_USAGE,
			"%s has not run yet: there is no state directory %s", arg,
			*path);
	else
		rc = err_sys(err, ST_DENIED, "state directory %s", *path);
	free(*path);
	*path = NULL;
	return rc;
}
