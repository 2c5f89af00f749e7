/* errands.c: many jobs before they are run, and what must not be the same in two. */
#include <popferry/mem.h>

#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { AT_ONCE_MAX = 1000, WHERE = 256 };

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

static enum status check_one(size_t k, const struct errand *v, size_t all,
	errand_where *where, const void *ctx, struct err *err)
{
	struct claim *c = xcalloc(all, sizeof(*c));
	char one[WHERE], other[WHERE];
	enum status rc = ST_OK;
	size_t n = 0, i;

	for (i = 0; i < all; i++) {
		c[n].what = v[i].job ? unique[k].of(v[i].job) : NULL;
		c[n].job = i;
		n += c[n].what != NULL;
	}
	qsort(c, n, sizeof(*c), by_what);
	for (i = 1; rc == ST_OK && i < n; i++) {
		size_t a = c[i - 1].job, b = c[i].job;

		if (strcmp(c[i - 1].what, c[i].what) != 0)
			continue;
		where(ctx, a, one, sizeof(one));
		where(ctx, b, other, sizeof(other));
		rc = unique[k].refuse(one, other, v[a].job, v[b].job, err);
	}
	for (i = 0; i < n; i++)
		free(c[i].what);
	free(c);
	return rc;
}

enum status errands_unique(const struct errand *v, size_t n, errand_where *where,
	const void *ctx, struct err *err)
{
	enum status rc = ST_OK;
	size_t k;

	for (k = 0; rc == ST_OK && k < N_ELEMENTS(unique); k++)
		rc = check_one(k, v, n, where, ctx, err);
	return rc;
}

enum status errands_at_once(const struct cli *c, unsigned *out, struct err *err)
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

void errand_failed(struct errand *e, const struct err *why)
{
	e->err = xmalloc(sizeof(*why));
	*e->err = *why;
}

void errands_free(struct errand *v, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		job_free(&v[i].job);
		free(v[i].err);
	}
	free(v);
}
