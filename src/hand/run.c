/* run.c: one run of a program, whatever it does. */
#include "own.h"

#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	SLICE_MS = 20,   /* to see an end that no descriptor tells of */
	GRACE_MS = 2000, /* from SIGTERM to SIGKILL */
	STOP_MS = 1000,  /* the same when we are in haste */
	DEAD_MS = 5000,  /* what the kernel gets to end a killed one */
	HEARD_MAX = 1024,
};

/* What it wrote at first; the rest is dropped. */
struct heard {
	int fd; /* -1: it has ended */
	char text[HEARD_MAX];
	size_t n;
};

enum phase { RUNNING, ASKED, KILLED };

struct run {
	const struct hand *h;
	hand_give *give;
	void *ctx;
	pid_t pid;
	int in;        /* -1: it gets no more */
	const char *p; /* of the piece that is going there */
	size_t n;
	struct heard heard[2]; /* standard output and error */
	siginfo_t how;
	bool ended, late, stopped;
	enum phase phase;
	int64_t deadline; /* of this phase */
};

/* ---- the start ---- */

static char *variable(const struct hand_value *v)
{
	struct buf b = BUF_INIT(8 * HAND_VALUE_MAX);
	size_t n = v->n < HAND_VALUE_MAX ? v->n : HAND_VALUE_MAX;

	buf_addf(&b, "%s=", v->name);
	if (v->value)
		text_clean_add(&b, v->value, n);
	return buf_take(&b);
}

/* Free all from the n-th on, and the list. */
static char **environment(
	const struct hand *h, const struct hand_value *env, size_t n_env)
{
	char **all = xcalloc(h->n_env + n_env + 1, sizeof(char *));
	size_t i;

	for (i = 0; i < h->n_env; i++)
		all[i] = h->envp[i];
	for (i = 0; i < n_env; i++)
		all[h->n_env + i] = variable(&env[i]);
	return all;
}

static void environment_free(const struct hand *h, char **all)
{
	size_t i;

	for (i = h->n_env; all[i]; i++)
		free(all[i]);
	free(all);
}

/* Its ends of the pipes become its first three descriptors, and it has no others. */
static int spawn(struct run *r, const int ends[3], char **env)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int i, no;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	for (i = 0; i < 3; i++)
		posix_spawn_file_actions_adddup2(&files, ends[i], i);
	posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr,
		POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	no = posix_spawn(&r->pid, r->h->path, &files, &attr, r->h->argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return no;
}

static void shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* The machine is full, or the program is just being written. */
static bool may_pass(int no)
{
	return no == EAGAIN || no == ENOMEM || no == ETXTBSY || no == EMFILE ||
		no == ENFILE;
}

static enum status start(
	struct run *r, const struct hand_value *env, size_t n_env, struct err *err)
{
	int pipes[3][2] = { { -1, -1 }, { -1, -1 }, { -1, -1 } }, theirs[3], i, no = 0;
	char **all = environment(r->h, env, n_env);
	enum status rc = ST_OK;

	for (i = 0; i < 3; i++)
		if (pipe2(pipes[i], O_CLOEXEC) < 0)
			rc = err_sys(err, ST_FATAL, "%s: pipe", r->h->what);
	for (i = 0; i < 3; i++)
		theirs[i] = pipes[i][i > 0];
	if (rc == ST_OK)
		no = spawn(r, theirs, all);
	environment_free(r->h, all);
	for (i = 0; i < 3; i++)
		shut(&pipes[i][i > 0]);
	if (no)
		rc = err_set(err, ST_DENIED, may_pass(no) ? EX_TEMPFAIL : EX_CONFIG,
			"%s: cannot run %.200s: %s", r->h->what, r->h->argv[0],
			strerror(no));
	r->in = pipes[0][1];
	r->heard[0].fd = pipes[1][0];
	r->heard[1].fd = pipes[2][0];
	if (rc == ST_OK)
		for (i = 0; i < 3; i++)
			fcntl(pipes[i][i == 0], F_SETFL, O_NONBLOCK);
	return rc;
}

/* ---- while it runs ---- */

static void hear(struct heard *h)
{
	char drop[4096];
	size_t room = HEARD_MAX - h->n;
	ssize_t got = read(
		h->fd, room ? h->text + h->n : drop, room ? room : sizeof(drop));

	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (got <= 0)
		shut(&h->fd);
	else if (room)
		h->n += (size_t)got;
}

/* As much as the pipe takes. That nobody reads it is no error. */
static enum status tell(struct run *r, struct err *err)
{
	ssize_t put;

	if (r->n == 0) {
		enum status rc = r->give(r->ctx, &r->p, &r->n, err);

		if (rc != ST_OK)
			return rc;
		if (r->n == 0) {
			shut(&r->in);
			return ST_OK;
		}
	}
	put = write(r->in, r->p, r->n);
	if (put < 0 && errno != EAGAIN && errno != EINTR)
		shut(&r->in);
	if (put > 0) {
		r->p += put;
		r->n -= (size_t)put;
	}
	return ST_OK;
}

/* Its number stays its own until it is reaped, so its group can be killed safely. */
static bool has_ended(struct run *r)
{
	if (!r->ended) {
		r->how.si_pid = 0;
		r->ended = waitid(P_PID, (id_t)r->pid, &r->how,
				   WEXITED | WNOHANG | WNOWAIT) < 0 ||
			r->how.si_pid != 0;
	}
	return r->ended;
}

static void ask_to_end(struct run *r, int patience_ms)
{
	kill(-r->pid, SIGTERM);
	r->phase = ASKED;
	r->deadline = clock_ms() + patience_ms;
}

static void mind_time(struct run *r)
{
	if (clock_ms() < r->deadline)
		return;
	if (r->phase == RUNNING) {
		r->late = true;
		ask_to_end(r, GRACE_MS);
	} else if (r->phase == ASKED) {
		kill(-r->pid, SIGKILL);
		r->phase = KILLED;
		r->deadline = clock_ms() + DEAD_MS;
	}
}

static int patience(const struct run *r)
{
	int64_t left = r->deadline - clock_ms();

	/* Both outputs closed: it is about to end. */
	if (r->heard[0].fd < 0 && r->heard[1].fd < 0)
		return 1;
	return left < 0 ? 0 : left < SLICE_MS ? (int)left : SLICE_MS;
}

static enum status attend(struct run *r, int stop_fd, struct err *err)
{
	enum status rc = ST_OK;

	/* A grandchild may hold the output open for ever; its end is not waited for. */
	while (rc == ST_OK && !has_ended(r) &&
		!(r->phase == KILLED && clock_ms() >= r->deadline)) {
		struct pollfd p[4] = { { r->in, POLLOUT, 0 },
			{ r->heard[0].fd, POLLIN, 0 }, { r->heard[1].fd, POLLIN, 0 },
			{ stop_fd > 0 && !r->stopped ? stop_fd : -1, POLLIN, 0 } };
		int i;

		if (poll(p, 4, patience(r)) > 0) {
			for (i = 0; i < 2; i++)
				if (p[1 + i].revents)
					hear(&r->heard[i]);
			if (p[0].revents & POLLERR)
				shut(&r->in);
			else if (p[0].revents)
				rc = tell(r, err);
			if (p[3].revents && r->phase == RUNNING) {
				r->stopped = true;
				ask_to_end(r, STOP_MS);
			}
		}
		mind_time(r);
	}
	return rc;
}

/* ---- its end ---- */

/* What stands in the pipes when it has ended, and not what may come some day. */
static void hear_rest(struct run *r)
{
	int i, turns;

	for (i = 0; i < 2; i++)
		for (turns = 0; r->heard[i].fd >= 0 && r->heard[i].n < HEARD_MAX &&
			turns < HEARD_MAX;
			turns++) {
			struct pollfd p = { r->heard[i].fd, POLLIN, 0 };

			if (poll(&p, 1, 0) <= 0)
				break;
			hear(&r->heard[i]);
		}
}

/* Reaps it, and leaves none of its session behind if it was not to go on. */
static void finish(struct run *r, bool kill_it)
{
	if (kill_it || r->phase != RUNNING)
		kill(-r->pid, SIGKILL);
	if (kill_it || r->ended)
		while (waitpid(r->pid, NULL, 0) < 0 && errno == EINTR)
			;
}

/* The first line that is not blank. */
static bool first_line(char out[HAND_LINE], const struct heard *h)
{
	const char *p = h->text, *end = h->text + h->n, *eol;

	while (p < end && strchr(" \t\r\n", *p))
		p++;
	if (p == end)
		return false;
	eol = memchr(p, '\n', (size_t)(end - p));
	if (!eol)
		eol = end;
	while (eol > p && strchr(" \t\r", eol[-1]))
		eol--;
	text_clean(out, HAND_LINE, p, (size_t)(eol - p));
	return true;
}

static void judge(const struct run *r, struct hand_answer *out)
{
	if (r->late)
		out->end = HAND_LATE;
	else
		out->end = r->how.si_code == CLD_EXITED ? HAND_EXIT : HAND_SIGNAL;
	out->code = r->late ? 0 : r->how.si_status;
	if (!first_line(out->line, &r->heard[0]))
		first_line(out->line, &r->heard[1]);
}

enum status hand_run(const struct hand *h, const struct hand_value *env, size_t n_env,
	hand_give *give, void *ctx, int stop_fd, struct hand_answer *out,
	struct err *err)
{
	struct run *r = xcalloc(1, sizeof(*r));
	int64_t began = clock_ms();
	enum status rc;
	int i;

	memset(out, 0, sizeof(*out));
	r->h = h;
	r->give = give;
	r->ctx = ctx;
	r->deadline = began + h->ms;
	rc = start(r, env, n_env, err);
	if (rc == ST_OK) {
		rc = attend(r, stop_fd, err);
		hear_rest(r);
		finish(r, rc != ST_OK);
		judge(r, out);
		out->ms = clock_ms() - began;
		if (rc == ST_OK && r->stopped)
			rc = err_set(err, ST_RETRY, EX_TEMPFAIL,
				"%s: stopped on request", h->what);
	}
	shut(&r->in);
	for (i = 0; i < 2; i++)
		shut(&r->heard[i].fd);
	free(r);
	return rc;
}

char *hand_told(char *out, size_t cap, const struct hand_answer *a)
{
	const char *gap = *a->line ? ": " : "";

	if (a->end == HAND_EXIT)
		snprintf(out, cap, "exit code %d%s%s", a->code, gap, a->line);
	else if (a->end == HAND_SIGNAL)
		snprintf(out, cap, "ended by signal %d%s%s", a->code, gap, a->line);
	else
		snprintf(out, cap, "not done in time%s%s", gap, a->line);
	return out;
}
