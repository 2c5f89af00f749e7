/* cmd_batch.c: a job a row of a table; what failed becomes a table again. */
#include <popferry/fs.h>
#include <popferry/mem.h>

#include "cli.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TOLD_MAX = 20, SHARDS_MAX = 100000 };

const struct option batch_options[] = {
	{ "jobs", "N", "run at most so many at a time (as -j N); 1 without it" },
	{ "profile", "NAME", "a profile with what all rows share" },
	{ "failed", "FILE", "at the end, write the rows that did not end with 0" },
	{ "shard", "I/N", "only the I-th of N parts of the jobs, by their names" },
	{ "allow-inline-secrets", NULL,
		"passwords may stand in a table that only its owner can read" },
	{ NULL, NULL, NULL },
};

struct batch {
	const struct cli *c;
	struct accounts *table;
	struct errand *v;
	size_t n;
	size_t *row; /* of each errand */
	unsigned at_once, shard, shards;
	const char *failed; /* NULL: not wanted */
	int dirfd;          /* its directory */
	struct err bad[TOLD_MAX];
	size_t n_bad;
	int exit;
};

/* ---- rows into jobs ---- */

static enum status load(struct batch *b, size_t row, struct job **out, struct err *err)
{
	char where[ACCOUNTS_WHERE];
	enum status rc;

	rc = accounts_job(b->table, row, cli_option(b->c, "profile"), out, err);
	if (rc != ST_OK)
		return rc; /* which names the row */
	rc = cli_apply(b->c, *out, err);
	if (rc == ST_OK)
		rc = job_check(*out, err);
	if (rc != ST_OK) {
		accounts_where(b->table, row, where);
		err_note(err, "%s", where);
		job_free(out);
	}
	return rc;
}

/* Which columns the options and the profile speak of; what is wrong, rows will tell. */
static void look_ahead(struct batch *b)
{
	const char *profile = cli_option(b->c, "profile");
	struct err err = ERR_INIT;
	struct job *job;
	size_t i;

	job_new(&job);
	accounts_bind(b->table, job);
	if (profile)
		job_load(job, profile, &err);
	for (i = 0; i < b->c->n_settings; i += 2)
		job_set(job, b->c->settings[i], b->c->settings[i + 1], "", &err);
	job_free(&job);
}

static void note_bad(struct batch *b, const struct err *err)
{
	if (b->n_bad < TOLD_MAX)
		b->bad[b->n_bad] = *err;
	b->n_bad++;
	b->exit = cli_worse(b->exit, err->exit);
}

static enum status tell_bad(const struct batch *b, struct err *err)
{
	size_t i;

	for (i = 0; i < b->n_bad && i < TOLD_MAX; i++)
		cli_complain(b->c, &b->bad[i]);
	if (b->n_bad > TOLD_MAX)
		return err_set(err, ST_DENIED, b->exit,
			"and %zu more row%s no good; nothing was begun",
			b->n_bad - TOLD_MAX,
			b->n_bad == TOLD_MAX + 1 ? " is" : "s are");
	return err_set(err, ST_DENIED, b->exit, "nothing was begun");
}

static enum status load_all(struct batch *b, struct err *err)
{
	size_t i;

	b->n = accounts_count(b->table);
	b->v = xcalloc(b->n + 1, sizeof(*b->v));
	b->row = xcalloc(b->n + 1, sizeof(*b->row));
	for (i = 0; i < b->n; i++) {
		struct err why = ERR_INIT;

		b->row[i] = i;
		if (load(b, i, &b->v[i].job, &why) == ST_OK)
			b->v[i].name = b->v[i].job->name;
		else
			note_bad(b, &why);
	}
	/* Often it is why there are others. */
	look_ahead(b);
	if (accounts_used(b->table, err) != ST_OK) {
		cli_complain(b->c, err);
		b->exit = cli_worse(b->exit, err->exit);
	}
	return b->exit ? tell_bad(b, err) : ST_OK;
}

static void where(const void *ctx, size_t i, char *out, size_t cap)
{
	char text[ACCOUNTS_WHERE];

	accounts_where(((const struct batch *)ctx)->table, i, text);
	snprintf(out, cap, "%s", text);
}

/* ---- the part that is ours ---- */

static enum status parse_shard(struct batch *b, struct err *err)
{
	const char *text = cli_option(b->c, "shard");
	char *end = NULL;

	b->shard = b->shards = 1;
	if (!text)
		return ST_OK;
	if (*text >= '0' && *text <= '9')
		b->shard = (unsigned)strtoul(text, &end, 10);
	if (end && *end == '/' && end[1] >= '0' && end[1] <= '9')
		b->shards = (unsigned)strtoul(end + 1, &end, 10);
	else
		end = NULL;
	if (end && !*end && strlen(text) < 16 && b->shard >= 1 &&
		b->shard <= b->shards && b->shards <= SHARDS_MAX)
		return ST_OK;
	return err_set(err, ST_DENIED, EX_USAGE,
		"--shard: expected I/N, a part from 1 to N and N up to %d, as in 3/10; not "
		"\"%.40s\"",
		SHARDS_MAX, text);
}

/* FNV-1a: the same name is in the same part, whatever the other rows are. */
static unsigned part_of(const char *name, unsigned parts)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 0x100000001b3u;
	return (unsigned)((h ^ h >> 32) % parts) + 1;
}

static void keep_shard(struct batch *b)
{
	size_t i, n = 0;

	for (i = 0; i < b->n; i++) {
		if (part_of(b->v[i].name, b->shards) != b->shard) {
			job_free(&b->v[i].job);
			continue;
		}
		b->v[n] = b->v[i];
		b->row[n++] = i;
	}
	memset(b->v + n, 0, (b->n - n) * sizeof(*b->v));
	b->n = n;
}

/* ---- what failed ---- */

static const char *failed_name(const struct batch *b)
{
	const char *slash = strrchr(b->failed, '/');

	return slash ? slash + 1 : b->failed;
}

/* A place that cannot be written to is better known before hours of work. */
static enum status open_failed(struct batch *b, struct err *err)
{
	const char *name;
	struct stat st;
	char *dir;

	b->failed = cli_option(b->c, "failed");
	if (!b->failed)
		return ST_OK;
	name = failed_name(b);
	if (!*name || strcmp(b->failed, "-") == 0 ||
		(lstat(b->failed, &st) == 0 && !S_ISREG(st.st_mode)))
		return err_set(err, ST_DENIED, EX_USAGE,
			"--failed: %.100s is no file; name one that can be replaced",
			b->failed);
	dir = name == b->failed ? xstrdup(".")
				: xmemdup0(b->failed, (size_t)(name - b->failed));
	b->dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->dirfd < 0 || faccessat(b->dirfd, ".", W_OK | X_OK, 0) < 0)
		err_sys(err, ST_DENIED, "--failed: directory %s", dir);
	free(dir);
	return err->status;
}

static enum status write_failed(struct batch *b, struct err *err)
{
	bool *wanted = xcalloc(accounts_count(b->table) + 1, sizeof(*wanted));
	enum status rc;
	size_t i, n;
	char *text;

	for (i = 0; i < b->n; i++)
		wanted[b->row[i]] = b->v[i].exit != 0;
	text = accounts_text(b->table, wanted, &n);
	rc = fs_replace(b->dirfd, failed_name(b), text, n, 0600, err);
	if (rc != ST_OK)
		err_note(err, "--failed: %s", b->failed);
	explicit_bzero(text, n);
	free(text);
	free(wanted);
	return rc;
}

/* ---- the command ---- */

static enum status prepare(struct batch *b, struct err *err)
{
	bool inline_secrets = cli_option(b->c, "allow-inline-secrets") != NULL;
	enum status rc = errands_at_once(b->c, &b->at_once, err);

	if (rc == ST_OK)
		rc = parse_shard(b, err);
	if (rc == ST_OK)
		rc = open_failed(b, err);
	if (rc == ST_OK)
		rc = accounts_open(&b->table, b->c->args[0], inline_secrets, err);
	if (rc == ST_OK)
		rc = load_all(b, err);
	if (rc == ST_OK)
		rc = errands_unique(b->v, b->n, where, b, err);
	if (rc == ST_OK)
		keep_shard(b);
	return rc;
}

int cmd_batch(struct cli *c, struct err *err)
{
	struct batch b = { .c = c, .dirfd = -1 };
	enum status rc;
	int code;

	if (c->n_args != 1)
		return cli_bad_usage(
			c, "batch", "batch needs one table of accounts", err);
	rc = prepare(&b, err);
	if (rc == ST_OK) {
		code = crew_run(c, b.v, b.n, b.at_once);
		if (b.failed)
			rc = write_failed(&b, err);
		if (rc != ST_OK)
			code = cli_worse(code, err->exit);
	} else {
		code = err->exit;
	}
	if (rc != ST_OK)
		cli_complain(c, err);
	errands_free(b.v, b.n);
	free(b.row);
	accounts_close(&b.table);
	if (b.dirfd >= 0)
		close(b.dirfd);
	return code;
}
