/* cmd_import.c: mail in files, of any kind, into an archive. */
#include <popferry/mem.h>
#include <popferry/text.h>

#include "cli.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD = 512, TAR_MAGIC_AT = 257 };

/* ---- what is it? ---- */

static bool has(const char *dir, const char *name)
{
	char *path = xasprintf("%s/%s", dir, name);
	bool there = access(path, F_OK) == 0;

	free(path);
	return there;
}

static const char *kind_of_dir(const char *path)
{
	if (has(path, "archive.json"))
		return "archive";
	return has(path, "cur") && has(path, "new") ? "maildir" : "eml";
}

#define MAGIC(at, text, kind) \
	{ \
		(at), (text), sizeof(text) - 1, (kind) \
	}

/* By its first bytes; blank lines may stand before an mbox. */
static const char *kind_of_bytes(const char *p, size_t n)
{
	static const struct {
		size_t at;
		const char *text;
		size_t n;
		const char *kind;
	} magic[] = {
		MAGIC(0, "PK\003\004", "zip"),
		MAGIC(0, "PK\005\006", "zip"),
		MAGIC(0, "\037\213", "tar"),
		MAGIC(0, "\050\265\057\375", "tar"),
		MAGIC(0, "BZh", "tar"),
		MAGIC(TAR_MAGIC_AT, "ustar", "tar"),
	};
	size_t i;

	for (i = 0; i < N_ELEMENTS(magic); i++)
		if (n >= magic[i].at + magic[i].n &&
			memcmp(p + magic[i].at, magic[i].text, magic[i].n) == 0)
			return magic[i].kind;
	while (n && (*p == '\n' || *p == '\r')) {
		p++;
		n--;
	}
	return !n || (n >= 5 && memcmp(p, "From ", 5) == 0) ? "mbox" : "eml";
}

static enum status unopened(const char *path, struct err *err)
{
	err_sys(err, ST_DENIED, "%s cannot be read", path);
	err->exit = EX_NOINPUT;
	return err->status;
}

static enum status kind_of(const char *path, const char **kind, struct err *err)
{
	char head[HEAD];
	enum status rc = ST_OK;
	struct stat st;
	ssize_t n;
	int fd;

	if (stat(path, &st) < 0)
		return unopened(path, err);
	if (S_ISDIR(st.st_mode)) {
		*kind = kind_of_dir(path);
		return ST_OK;
	}
	if (!S_ISREG(st.st_mode))
		return err_set(err, ST_DENIED, EX_USAGE,
			"%s is neither a file nor a directory", path);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, head, sizeof(head));
	if (n < 0)
		rc = unopened(path, err);
	else
		*kind = kind_of_bytes(head, (size_t)n);
	if (fd >= 0)
		close(fd);
	return rc;
}

/* ---- jobs ---- */

struct import {
	struct cli *c;
	const char *archive;
	struct errand *v;
	char **urls; /* of each */
	size_t n;
	const char **loose; /* arguments that are one message each, by directory */
	size_t n_loose;
};

static enum status make_job(const struct import *m, const char *url, const char *name,
	const char *state, struct job **out, struct err *err)
{
	char *dest = xasprintf("archive:%s", m->archive);
	enum status rc;

	job_new(out);
	rc = cli_apply(m->c, *out, err);
	if (rc == ST_OK)
		rc = job_set(*out, "source", url, "FILE", err);
	if (rc == ST_OK)
		rc = job_set(*out, "dest", dest, "ARCHIVE", err);
	if (rc == ST_OK && name)
		rc = job_set(*out, "name", name, "FILE", err);
	if (rc == ST_OK && state)
		rc = job_set(*out, "state", state, "--state", err);
	if (rc == ST_OK)
		rc = job_check(*out, err);
	if (rc != ST_OK)
		job_free(out);
	free(dest);
	return rc;
}

static bool name_taken(const struct import *m, const char *name)
{
	size_t i;

	for (i = 0; i < m->n; i++)
		if (m->v[i].job && strcmp(m->v[i].job->name, name) == 0)
			return true;
	return false;
}

static bool was_set(const struct cli *c, const char *setting)
{
	size_t i;

	for (i = 0; i < c->n_settings; i += 2)
		if (strcmp(c->settings[i], setting) == 0)
			return true;
	return false;
}

/* Two files may be called the same; each job has a name of its own. */
static enum status part_names(
	struct import *m, const char *url, struct errand *e, struct err *err)
{
	char *state = was_set(m->c, "state") ? NULL : xstrdup(e->job->state);
	char *base = xstrdup(e->job->name), *name;
	enum status rc;
	size_t k = 2;

	do {
		name = xasprintf("%.50s-%zu", base, k++);
		if (!name_taken(m, name))
			break;
		free(name);
	} while (true);
	job_free(&e->job);
	rc = make_job(m, url, name, state, &e->job, err);
	free(name);
	free(base);
	free(state);
	return rc;
}

static struct errand *add_errand(struct import *m, char *url)
{
	struct errand *e;

	m->v = xreallocarray(m->v, m->n + 1, sizeof(*m->v));
	m->urls = xreallocarray(m->urls, m->n + 1, sizeof(char *));
	m->urls[m->n] = url;
	e = &m->v[m->n];
	*e = (struct errand){ .name = url };
	return e;
}

/* A job for this source; url is taken over. NULL: it is no good, and says why. */
static struct job *add_job(struct import *m, char *url)
{
	struct errand *e = add_errand(m, url);
	struct err err = ERR_INIT;
	enum status rc = make_job(m, url, NULL, NULL, &e->job, &err);

	if (rc == ST_OK && name_taken(m, e->job->name))
		rc = part_names(m, url, e, &err);
	if (rc == ST_OK) {
		e->name = e->job->name;
	} else {
		err_note(&err, "%s", url);
		errand_failed(e, &err);
	}
	m->n++;
	return e->job;
}

/* ---- files of one message, many of them named ---- */

static size_t dir_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? (size_t)(slash - path) : 0;
}

static int by_dir(const void *ap, const void *bp)
{
	const char *a = *(const char *const *)ap, *b = *(const char *const *)bp;
	size_t n = dir_of(a), k = dir_of(b);
	int d = memcmp(a, b, n < k ? n : k);

	return d ? d : n != k ? (n > k) - (n < k) : strcmp(a, b);
}

/* One job for those of a directory, not one a message; with a state of its own, for it
 * lists others than the directory itself (a '.' behind that gives it another name). */
static void add_loose(struct import *m, const char **paths, size_t n)
{
	size_t dir = dir_of(paths[0]), i;
	struct endpoint *end;
	struct job *job;

	if (n == 1) {
		add_job(m, xasprintf("eml:%s", paths[0]));
		return;
	}
	job = add_job(m,
		paths[0][dir] != '/' ? xstrdup("eml:.")
				     : xasprintf("eml:%.*s.", (int)dir + 1, paths[0]));
	if (!job)
		return;
	end = &job->source;
	end->only = xcalloc(n, sizeof(char *));
	for (i = 0; i < n; i++) {
		const char *name = paths[i] + dir + (paths[i][dir] == '/');

		if (!end->n_only || strcmp(end->only[end->n_only - 1], name) != 0)
			end->only[end->n_only++] = xstrdup(name);
	}
}

static void add_all_loose(struct import *m)
{
	size_t i, k;

	if (m->n_loose > 1)
		qsort(m->loose, m->n_loose, sizeof(*m->loose), by_dir);
	for (i = 0; i < m->n_loose; i = k) {
		size_t n = dir_of(m->loose[i]);

		for (k = i + 1; k < m->n_loose && dir_of(m->loose[k]) == n &&
			memcmp(m->loose[i], m->loose[k], n) == 0;
			k++)
			;
		add_loose(m, m->loose + i, k - i);
	}
}

/* ---- the command ---- */

static void add_file(struct import *m, const char *path)
{
	struct err err = ERR_INIT;
	const char *kind = NULL;

	if (kind_of(path, &kind, &err) != ST_OK) {
		errand_failed(add_errand(m, xstrdup(path)), &err);
		m->n++;
		return;
	}
	if (strcmp(kind, "eml") == 0 && !has(path, "."))
		m->loose[m->n_loose++] = path;
	else
		add_job(m, xasprintf("%s:%s", kind, path));
}

/* One path for many jobs needs {name} in it. */
static enum status check_shared(const struct import *m, struct err *err)
{
	static const char *const keys[] = { "state", "report", "trace" };
	const struct cli *c = m->c;
	size_t i, k;

	for (i = 0; m->n > 1 && i < c->n_settings; i += 2)
		for (k = 0; k < N_ELEMENTS(keys); k++)
			if (strcmp(c->settings[i], keys[k]) == 0 &&
				strcmp(c->settings[i + 1], "-") != 0 &&
				!strstr(c->settings[i + 1], "{name}"))
				return err_set(err, ST_DENIED, EX_USAGE,
					"--%s: each file that is imported needs one of "
					"its own; write {name} in it",
					keys[k]);
	return ST_OK;
}

static int run(struct import *m, struct err *err)
{
	size_t i;

	if (check_shared(m, err) != ST_OK) {
		cli_complain(m->c, err);
		return err->exit;
	}
	if (m->n > 1)
		return crew_run(m->c, m->v, m->n, 1);
	for (i = 0; i < m->n; i++) {
		if (m->v[i].job)
			return ferry_one(m->c, m->v[i].job);
		cli_complain(m->c, m->v[i].err);
	}
	return m->v[0].err->exit;
}

int cmd_import(struct cli *c, struct err *err)
{
	struct import m = { .c = c };
	size_t i;
	int code;

	if (c->n_args < 2)
		return cli_bad_usage(
			c, "import", "import needs an ARCHIVE and a FILE", err);
	m.archive = cli_archive_path(c->args[0]);
	m.loose = xcalloc(c->n_args, sizeof(char *));
	for (i = 1; i < c->n_args; i++)
		add_file(&m, c->args[i]);
	add_all_loose(&m);
	code = run(&m, err);
	for (i = 0; i < m.n; i++)
		free(m.urls[i]);
	errands_free(m.v, m.n);
	free(m.urls);
	free(m.loose);
	return code;
}
