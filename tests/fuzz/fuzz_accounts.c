/* fuzz_accounts.c: tables of accounts, and what all their rows share. */
#include "fuzz.h"

#include <popferry/config.h>
#include <popferry/mem.h>

#include <stdlib.h>
#include <string.h>

enum { ROWS_TRIED = 50 };

static void settle(void)
{
	must(setenv("HOME", scratch(), 1) == 0);
	must(setenv("XDG_STATE_HOME", scratch(), 1) == 0);
	must(setenv("XDG_CONFIG_HOME", scratch(), 1) == 0);
	must(setenv("POPFERRY_PROFILES", scratch(), 1) == 0);
}

/* Every line is an option: "folder={user}". */
static enum status set_all(struct job *j, const char *lines, struct err *err)
{
	char *text = xstrdup(lines), *s = text, *end, *value;
	enum status rc = ST_OK;

	for (; rc == ST_OK && *s; s = end) {
		end = s + strcspn(s, "\n");
		if (*end)
			*end++ = '\0';
		value = strchr(s, '=');
		if (value)
			*value++ = '\0';
		rc = job_set(j, s, value, "--option", err);
		must_tell(rc, err);
	}
	free(text);
	return rc;
}

static void try_row(
	struct accounts *a, size_t row, const char *profile, const char *options)
{
	char where[ACCOUNTS_WHERE];
	struct err err = ERR_INIT;
	struct job *j = NULL;
	enum status rc = accounts_job(a, row, profile, &j, &err);

	must_tell(rc, &err);
	must((rc == ST_OK) == (j != NULL));
	if (rc == ST_OK)
		rc = set_all(j, options, &err);
	if (rc == ST_OK) {
		rc = job_check(j, &err);
		must_tell(rc, &err);
	}
	if (rc == ST_OK)
		must(j->name && j->state && j->n_dest >= 1 && j->source.url);
	accounts_where(a, row, where);
	must(strchr(where, ':'));
	job_free(&j);
}

/* What is written is the same table again. */
static void write_again(struct accounts *a, size_t rows)
{
	bool *wanted = xcalloc(rows + 1, sizeof(*wanted));
	char *path = xasprintf("%s/again.csv", scratch()), *text;
	struct accounts *b = NULL;
	struct err err = ERR_INIT;
	size_t i, n;

	for (i = 0; i < rows; i++)
		wanted[i] = true;
	text = accounts_text(a, wanted, &n);
	scratch_put("again.csv", text, n);
	/* A second byte order mark, behind a comment, would be the first. */
	if (n && *text != '\xef') {
		must(accounts_open(&b, path, true, &err) == ST_OK);
		must(accounts_count(b) == rows);
	}
	accounts_close(&b);
	free(text);
	free(path);
	free(wanted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { (const char *)data, size }, table, profile;
	char *path = xasprintf("%s/table.csv", scratch());
	char *shared = xasprintf("%s/shared.conf", scratch()), *options;
	struct accounts *a = NULL;
	struct err err = ERR_INIT;
	enum status rc;
	size_t i;

	settle();
	table = input_part(&in);
	profile = input_part(&in);
	options = input_text(&in);
	scratch_put("table.csv", table.p, table.n);
	scratch_put("shared.conf", profile.p, profile.n);
	rc = accounts_open(&a, path, true, &err);
	must_tell(rc, &err);
	must((rc == ST_OK) == (a != NULL));
	for (i = 0; a && i < accounts_count(a) && i < ROWS_TRIED; i++)
		try_row(a, i, profile.n ? shared : NULL, options);
	if (a) {
		rc = accounts_used(a, &err);
		must_tell(rc, &err);
		write_again(a, accounts_count(a));
	}
	accounts_close(&a);
	free(options);
	free(shared);
	free(path);
	return 0;
}
