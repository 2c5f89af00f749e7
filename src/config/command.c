/* command.c: a command that prints a password, run without a shell. */
#include "own.h"

#include <popferry/clock.h>
#include <popferry/hand.h>
#include <popferry/mem.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLICE_MS = 50, SETTLED = -1 };

extern char **environ;

/* ---- the child ---- */

struct child {
	pid_t pid;
	int fd;     /* its standard output */
	int status; /* of waitpid(), once it has ended */
	bool ended;
	char text[SECRET_MAX + 3]; /* its first bytes; the rest is dropped */
	size_t n;
};

/* The child starts with default signals, whatever this program blocks. */
static int spawn(struct child *c, char *const argv[], int out)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int no;

	sigemptyset(&none);
	sigemptyset(&all);
	sigaddset(&all, SIGPIPE);
	sigaddset(&all, SIGINT);
	sigaddset(&all, SIGTERM);
	sigaddset(&all, SIGHUP);
	sigaddset(&all, SIGCHLD);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(
		&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	no = posix_spawnp(&c->pid, argv[0], &files, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return no;
}

/* Reads what is there; false at the end of its output. */
static bool drain(struct child *c)
{
	char drop[256];
	size_t room = sizeof(c->text) - 1 - c->n;
	ssize_t got;

	got = room ? read(c->fd, c->text + c->n, room)
		   : read(c->fd, drop, sizeof(drop));
	if (got < 0)
		return errno == EINTR || errno == EAGAIN;
	if (room)
		c->n += (size_t)got;
	else
		explicit_bzero(drop, sizeof(drop));
	return got > 0;
}

/*
 * Until the command has ended and its output is read. A grandchild may hold the
 * output open for ever, so its end is not waited for. False: out of time, or stopped.
 */
static bool attend(struct child *c, int64_t deadline, int stop_fd, bool *stopped)
{
	bool open = true;

	while (!c->ended || open) {
		struct pollfd p[2] = { { open ? c->fd : SETTLED, POLLIN, 0 },
			{ stop_fd > 0 ? stop_fd : SETTLED, POLLIN, 0 } };
		int ready = poll(p, 2, c->ended ? 0 : SLICE_MS);

		*stopped = ready > 0 && p[1].revents;
		if (*stopped)
			return false;
		if (ready > 0)
			open = drain(c);
		else if (c->ended)
			open = false;
		if (!c->ended && waitpid(c->pid, &c->status, WNOHANG) != 0)
			c->ended = true;
		if (clock_ms() > deadline)
			return c->ended;
	}
	return true;
}

static enum status judge(
	const struct child *c, const char *what, const char *program, struct err *err)
{
	if (WIFSIGNALED(c->status))
		return err_set(err, ST_DENIED, EX_CONFIG,
			"%s-password-command: %.100s was ended by signal %d", what,
			program, WTERMSIG(c->status));
	if (WEXITSTATUS(c->status) != 0)
		return err_set(err, ST_DENIED, EX_CONFIG,
			"%s-password-command: %.100s failed with exit code %d", what,
			program, WEXITSTATUS(c->status));
	return ST_OK;
}

static enum status run(struct child *c, char *const argv[], int ms, int stop_fd,
	const char *what, struct err *err)
{
	bool stopped = false;
	int ends[2], no;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(err, ST_FATAL, "%s-password-command: pipe", what);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	no = spawn(c, argv, ends[1]);
	close(ends[1]);
	c->fd = ends[0];
	if (no) {
		close(c->fd);
		return err_set(err, ST_DENIED, EX_CONFIG,
			"%s-password-command: cannot run %.100s: %s", what, argv[0],
			strerror(no));
	}
	if (!attend(c, clock_ms() + ms, stop_fd, &stopped)) {
		if (!c->ended) {
			kill(c->pid, SIGKILL);
			waitpid(c->pid, &c->status, 0);
		}
		close(c->fd);
		if (stopped)
			return err_set(err, ST_DENIED, EX_TEMPFAIL,
				"%s-password-command: stopped on request", what);
		return err_set(err, ST_DENIED, EX_CONFIG,
			"%s-password-command: %.100s gave no answer in %d seconds",
			what, argv[0], ms / 1000);
	}
	close(c->fd);
	return judge(c, what, argv[0], err);
}

enum status command_line(const char *command, int ms, int stop_fd, const char *what,
	char **out, struct err *err)
{
	char *words = xmalloc(strlen(command) + 1), *argv[HAND_WORDS_MAX + 1];
	struct child c = { 0 };
	enum status rc;

	if (!hand_split(command, words, argv)) {
		rc = err_set(err, ST_DENIED, EX_USAGE,
			"%s-password-command: expected a program and at most %d "
			"arguments, with every quote closed",
			what, HAND_WORDS_MAX - 1);
		goto out;
	}
	rc = run(&c, argv, ms, stop_fd, what, err);
	if (rc < 0)
		goto out;
	if (memchr(c.text, '\0', c.n)) {
		rc = err_set(err, ST_DENIED, EX_CONFIG,
			"%s-password-command: its output holds a NUL byte", what);
		goto out;
	}
	*out = xmemdup0(c.text, c.n);
out:
	explicit_bzero(c.text, sizeof(c.text));
	explicit_bzero(words, strlen(command) + 1);
	free(words);
	return rc;
}
