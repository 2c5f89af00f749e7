/* open.c: which program that is, and what of our environment it may see. */
#include "own.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static bool can_run(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return false;
	if (!S_ISREG(st.st_mode)) {
		errno = EACCES;
		return false;
	}
	return access(path, X_OK) == 0;
}

/* As execvp() looks for it. NULL, and errno: it cannot be run. */
static char *find(const char *name)
{
	const char *p = getenv("PATH"), *end;
	int why = ENOENT;

	if (strchr(name, '/'))
		return can_run(name) ? xstrdup(name) : NULL;
	for (p = p ? p : "/usr/bin:/bin"; p; p = *end ? end + 1 : NULL) {
		char *path;

		end = strchrnul(p, ':');
		path = xasprintf(
			"%.*s%s%s", (int)(end - p), p, end > p ? "/" : "./", name);
		if (can_run(path))
			return path;
		if (errno != ENOENT && errno != ENOTDIR)
			why = errno;
		free(path);
	}
	errno = why;
	return NULL;
}

static bool may_see(const char *variable)
{
	static const char *const names[] = { "PATH=", "HOME=", "USER=", "LOGNAME=",
		"SHELL=", "LANG=", "LANGUAGE=", "LC_",
		"TZ=", "TMPDIR=", "XDG_RUNTIME_DIR=" };
	size_t i;

	for (i = 0; i < N_ELEMENTS(names); i++)
		if (text_starts(variable, names[i]))
			return true;
	return false;
}

static void keep_env(struct hand *h)
{
	char **e;

	for (e = environ; e && *e; e++) {
		if (!may_see(*e))
			continue;
		h->envp = xreallocarray(h->envp, h->n_env + 2, sizeof(char *));
		h->envp[h->n_env++] = xstrdup(*e);
		h->envp[h->n_env] = NULL;
	}
}

enum status hand_open(struct hand **out, const char *command, unsigned seconds,
	const char *what, struct err *err)
{
	struct hand *h = xcalloc(1, sizeof(*h));

	*out = NULL;
	h->what = what;
	h->ms = (int)(seconds ? seconds : HAND_SECONDS) * 1000;
	h->words = xmalloc(strlen(command) + 1);
	if (!hand_split(command, h->words, h->argv) || !*h->argv[0]) {
		hand_close(&h);
		return err_set(err, ST_DENIED, EX_USAGE,
			"%s: expected a program and at most %d arguments, with every "
			"quote closed",
			what, HAND_WORDS_MAX - 1);
	}
	h->path = find(h->argv[0]);
	if (!h->path) {
		err_set(err, ST_DENIED, EX_CONFIG, "%s: cannot run %.200s: %s", what,
			h->argv[0], strerror(errno));
		hand_close(&h);
		return ST_DENIED;
	}
	keep_env(h);
	*out = h;
	return ST_OK;
}

void hand_close(struct hand **hp)
{
	struct hand *h = *hp;

	if (!h)
		return;
	while (h->n_env)
		free(h->envp[--h->n_env]);
	free(h->envp);
	free(h->path);
	free(h->words);
	free(h);
	*hp = NULL;
}

const char *hand_program(const struct hand *h)
{
	return h->argv[0];
}
