/* named.c: where state directories are when nobody says it, and which one a name is. */
#include "own.h"

#include <popferry/mem.h>

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HASH_DIGITS = 8 };

static char *state_home(void)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

	if (state && *state == '/')
		return xasprintf("%s/popferry", state);
	return home && *home == '/' ? xasprintf("%s/.local/state/popferry", home)
				    : NULL;
}

char *state_default(const char *name, uint64_t hash)
{
	char *home = state_home(), *path = NULL;

	if (home)
		path = xasprintf("%s/%s-%0*x", home, name, HASH_DIGITS,
			(unsigned)(hash & 0xffffffffu));
	free(home);
	return path;
}

/* "ann@example.net-5dbcc91e" is of the job "ann@example.net". */
static bool is_of(const char *entry, const char *name)
{
	size_t n = strlen(name);

	return strncmp(entry, name, n) == 0 && entry[n] == '-' &&
		strlen(entry + n + 1) == HASH_DIGITS &&
		strspn(entry + n + 1, "0123456789abcdef") == HASH_DIGITS;
}

static bool has_run(const char *dir)
{
	char *journal = xasprintf("%s/journal.sqlite", dir);
	bool there = access(journal, F_OK) == 0;

	free(journal);
	return there;
}

static void add(char ***paths, size_t *n, char *path)
{
	*paths = xreallocarray(*paths, *n + 1, sizeof(**paths));
	(*paths)[(*n)++] = path;
}

/* home/entry when a job has run there. */
static char *ran_in(const char *home, const char *entry)
{
	char *dir = xasprintf("%s/%s", home, entry);

	if (has_run(dir))
		return dir;
	free(dir);
	return NULL;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum status find_all(
	const char *home, const char *name, char ***paths, size_t *n, struct err *err)
{
	DIR *d = opendir(home);
	const struct dirent *e;

	if (!d)
		return errno == ENOENT ? ST_OK : err_sys(err, ST_DENIED, "%s", home);
	while ((e = readdir(d))) {
		char *dir = is_of(e->d_name, name) ? ran_in(home, e->d_name) : NULL;

		if (dir)
			add(paths, n, dir);
	}
	closedir(d);
	if (*n)
		qsort(*paths, *n, sizeof(**paths), by_text);
	return ST_OK;
}

enum status jobs_named(const char *name, char ***paths, size_t *n, struct err *err)
{
	enum status rc = ST_OK;
	char *home, *whole;

	*paths = NULL;
	*n = 0;
	home = *name && *name != '.' && !strchr(name, '/') ? state_home() : NULL;
	if (!home)
		return ST_OK;
	whole = ran_in(home, name);
	if (whole)
		add(paths, n, whole);
	else
		rc = find_all(home, name, paths, n, err);
	free(home);
	return rc;
}

void jobs_free(char **paths, size_t n)
{
	while (n)
		free(paths[--n]);
	free(paths);
}
