/* secret.c: passwords from files, commands and the environment. */
#include "own.h"

#include <popferry/mem.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The first line of n bytes at p (NUL follows) becomes *out. */
static enum status first_line(
	const char *p, size_t n, const char *what, char **out, struct err *err)
{
	const char *end = memchr(p, '\n', n);
	size_t len = end ? (size_t)(end - p) : n;

	if (len && p[len - 1] == '\r')
		len--;
	if (len > SECRET_MAX)
		return err_set(err, ST_DENIED, EX_CONFIG,
			"%s: its first line is longer than %d bytes", what, SECRET_MAX);
	if (!len)
		return err_set(err, ST_DENIED, EX_CONFIG,
			"%s: its first line is empty; the password stands there", what);
	if (memchr(p, '\0', len) || memchr(p, '\r', len))
		return err_set(err, ST_DENIED, EX_CONFIG,
			"%s: its first line holds a NUL or a carriage return", what);
	*out = xmemdup0(p, len);
	return ST_OK;
}

/* ---- a file ---- */

/* A plain name is first looked for among systemd's credentials. */
static char *credential(const char *name)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");
	char *path;

	if (!dir || *dir != '/' || strchr(name, '/'))
		return NULL;
	path = xasprintf("%s/%s", dir, name);
	if (access(path, F_OK) == 0)
		return path;
	free(path);
	return NULL;
}

enum status secret_judge(
	int fd, const char *what, const char *path, mode_t others, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(err, ST_DENIED, EX_CONFIG, "%s %s: %s", what, path,
			strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(err, ST_DENIED, EX_CONFIG,
			"%s %s: is not a regular file", what, path);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return err_set(err, ST_DENIED, EX_CONFIG,
			"%s %s: belongs to another user (%lu); run: chown %lu %s", what,
			path, (unsigned long)st.st_uid, (unsigned long)geteuid(), path);
	if (st.st_mode & others)
		return err_set(err, ST_DENIED, EX_CONFIG,
			"%s %s: others can read or write it (mode %03o); run: chmod 600 %s",
			what, path, (unsigned)(st.st_mode & 0777), path);
	return ST_OK;
}

/* Fills buf with up to cap bytes; the count, or -1. */
static ssize_t read_some(int fd, char *buf, size_t cap)
{
	size_t n = 0;
	ssize_t got;

	while (n < cap) {
		got = read(fd, buf + n, cap - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (!got)
			break;
		n += (size_t)got;
	}
	return (ssize_t)n;
}

static enum status from_file(const char *name, char **out, struct err *err)
{
	char text[SECRET_MAX + 3], *found = credential(name);
	const char *path = found ? found : name;
	/* systemd gives a service its credentials by an ACL, which a stat shows
	 * as group bits; their directory is closed to all others. */
	mode_t others = found ? 0037 : 0077;
	enum status rc = ST_OK;
	char *label = NULL;
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		rc = err_set(err, ST_DENIED, EX_CONFIG, "password file %s: %s", path,
			errno == ELOOP ? "is a symbolic link; name the file itself"
				       : strerror(errno));
		goto out;
	}
	rc = secret_judge(fd, "password file", path, others, err);
	if (rc < 0)
		goto out;
	n = read_some(fd, text, sizeof(text) - 1);
	if (n < 0) {
		rc = err_set(err, ST_DENIED, EX_CONFIG, "password file %s: %s", path,
			strerror(errno));
		goto out;
	}
	text[n] = '\0';
	label = xasprintf("password file %s", path);
	rc = first_line(text, (size_t)n, label, out, err);
out:
	explicit_bzero(text, sizeof(text));
	if (fd >= 0)
		close(fd);
	free(label);
	free(found);
	return rc;
}

/* ---- the environment ---- */

/*
 * A variable is taken out of the environment when it is read, so that no
 * child inherits it; it is kept here, because both ends may name the same one and a
 * session may be opened again.
 */
struct taken {
	struct taken *next;
	char *name, *value;
};
static struct taken *taken;
static atomic_flag taken_lock = ATOMIC_FLAG_INIT;

static struct taken *taken_find(const char *name)
{
	struct taken *t;

	for (t = taken; t; t = t->next)
		if (!strcmp(t->name, name))
			return t;
	return NULL;
}

/* The value of the variable, owned by the list; NULL when it is not set. */
static const char *take(const char *name)
{
	struct taken *t = taken_find(name);
	char *value = getenv(name);

	if (!value)
		return t ? t->value : NULL;
	if (!t) {
		t = xcalloc(1, sizeof(*t));
		t->name = xstrdup(name);
		t->next = taken;
		taken = t;
	} else {
		explicit_bzero(t->value, strlen(t->value));
		free(t->value);
	}
	t->value = xstrdup(value);
	explicit_bzero(value, strlen(value)); /* /proc/PID/environ shows it */
	unsetenv(name);
	return t->value;
}

static enum status from_env(const char *name, char **out, struct err *err)
{
	char *label = xasprintf("environment variable %s", name);
	const char *value;
	enum status rc;

	while (atomic_flag_test_and_set(&taken_lock))
		;
	value = take(name);
	if (value)
		rc = first_line(value, strlen(value), label, out, err);
	else
		rc = err_set(err, ST_DENIED, EX_CONFIG, "%s: is not set", label);
	atomic_flag_clear(&taken_lock);
	free(label);
	return rc;
}

/* ---- all of them ---- */

static enum status from_command(
	const char *command, const char *what, int stop_fd, char **out, struct err *err)
{
	char *text = NULL, *label = NULL;
	enum status rc;

	rc = command_line(command, COMMAND_SECONDS * 1000, stop_fd, what, &text, err);
	if (rc < 0)
		return rc;
	label = xasprintf("%s-password-command", what);
	rc = first_line(text, strlen(text), label, out, err);
	explicit_bzero(text, strlen(text));
	free(text);
	free(label);
	return rc;
}

enum status secret_get(
	const struct secret *s, const char *what, char **out, struct err *err)
{
	return secret_get_or_stop(s, what, 0, out, err);
}

enum status secret_get_or_stop(const struct secret *s, const char *what, int stop_fd,
	char **out, struct err *err)
{
	if (s->file)
		return from_file(s->file, out, err);
	if (s->command)
		return from_command(s->command, what, stop_fd, out, err);
	if (s->env)
		return from_env(s->env, out, err);
	if (s->text) {
		*out = xstrdup(s->text);
		return ST_OK;
	}
	return err_set(err, ST_DENIED, EX_USAGE,
		"there is no %s password; give one of --%s-password-file, "
		"--%s-password-command and --%s-password-env, or the same in a profile",
		what, what, what, what);
}
