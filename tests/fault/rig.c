/* rig.c: popferry between two fake servers, from outside. */
#include "rig.h"

#include <popferry/archive.h>
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/mem.h>

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fakeimap.h"
#include "fakepop.h"

enum {
	LARGE = 280 * 1024, /* does not fit into the spool's memory */
	SAID_MAX = 64 * 1024,
	ARGS = 40,
};

static char *mail[RIG_MAIL];

static void die(const char *what)
{
	printf("Bail out! %s\n", what);
	exit(1);
}

static const char *needed(const char *name)
{
	const char *s = getenv(name);

	if (!s || access(s, R_OK) < 0)
		die(name);
	return s;
}

void rig_begin(void)
{
	size_t i, k;

	needed("POPFERRY");
	needed("FAULTLIB");
	/* Nothing here loses what was not synced, and to wait for that is half of a
	 * run. */
	if (!getenv("TMPDIR") && access("/dev/shm", W_OK | X_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 1);
	for (i = 0; i < RIG_MAIL; i++) {
		struct buf b = BUF_INIT(2 * LARGE);
		size_t size = i == RIG_MAIL - 1 ? LARGE : 200 + 700 * i;

		buf_addf(&b,
			"From: ann@example.org\r\nTo: bob@example.org\r\n"
			"Date: Mon, 1 Jan 2024 10:00:%02zu +0000\r\n"
			"Subject: letter %zu\r\n",
			i, i);
		if (i != 2) /* one has none */
			buf_addf(&b, "Message-ID: <letter-%zu@example.org>\r\n", i);
		buf_addf(&b, "\r\n.\r\nThis is letter %zu.\r\n", i);
		for (k = 0; b.n < size; k++)
			buf_addf(&b, "line %zu of it %zu\r\n", k, k * k * (i + 3));
		mail[i] = buf_take(&b);
	}
}

/* ---- a rig ---- */

void rig_open(struct rig **out)
{
	struct rig *r = xcalloc(1, sizeof(*r));
	const char *tmp = getenv("TMPDIR");
	size_t i;

	snprintf(r->dir, sizeof(r->dir), "%s/fault.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(r->dir))
		die(r->dir);
	snprintf(r->archive, sizeof(r->archive), "%s/archive", r->dir);
	snprintf(r->said, sizeof(r->said), "%s/said", r->dir);
	snprintf(r->log, sizeof(r->log), "%s/log", r->dir);
	fakepop_open(&r->pop);
	fakeimap_open(&r->imap);
	for (i = 0; i < RIG_MAIL; i++)
		fakepop_add(r->pop, NULL, mail[i]);
	*out = r;
}

static int drop(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

void rig_close(struct rig **rp)
{
	struct rig *r = *rp;

	nftw(r->dir, drop, 16, FTW_DEPTH | FTW_PHYS);
	fakepop_close(&r->pop);
	fakeimap_close(&r->imap);
	free(r);
	*rp = NULL;
}

/* ---- running ---- */

static void limit(int what, unsigned long n)
{
	const struct rlimit l = { n, n };

	if (n)
		setrlimit(what, &l);
}

static void say_into(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
		_exit(126);
	if (fd > STDERR_FILENO)
		close(fd);
}

static pid_t start(const struct rig *r, char *const argv[], char *const env[],
	const struct rig_run *how)
{
	const char *program = getenv("POPFERRY");
	pid_t pid = fork(); /* only calls that a signal handler may make follow */

	if (pid < 0)
		die("fork");
	if (pid > 0)
		return pid;
	setpgid(0, 0);
	say_into(r->said);
	limit(RLIMIT_NOFILE, how->files);
	limit(RLIMIT_FSIZE, how->bytes);
	execve(program, argv, env);
	_exit(125);
}

struct words {
	char *v[ARGS];
	size_t n;
};

static void __attribute__((format(printf, 2, 3)))
word(struct words *w, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (w->n + 1 == ARGS || vasprintf(&w->v[w->n++], fmt, ap) < 0)
		die("too many words");
	va_end(ap);
}

static void words_free(struct words *w)
{
	while (w->n)
		free(w->v[--w->n]);
}

static void words_env(struct words *env, const struct rig *r, const struct rig_run *how)
{
	size_t i;

	word(env, "PATH=/usr/bin:/bin");
	word(env, "HOME=%s", r->dir);
	word(env, "SECRET=secret");
	word(env, "LD_PRELOAD=%s", getenv("FAULTLIB"));
	word(env, "FAULT_LOG=%s", r->log);
	for (i = 0; how->env[i]; i++)
		word(env, "%s", how->env[i]);
}

pid_t rig_start(struct rig *r, const struct rig_run *how)
{
	struct words args = { .n = 0 }, env = { .n = 0 };
	pid_t pid;

	word(&args, "popferry");
	word(&args, "copy");
	word(&args, "pop3://u@127.0.0.1:%u", fakepop_port(r->pop));
	word(&args, "imap://u@127.0.0.1:%u/", fakeimap_port(r->imap));
	word(&args, "archive:%s", r->archive);
	word(&args, "--source-tls=none");
	word(&args, "--dest-tls=none");
	word(&args, "--source-password-env=SECRET");
	word(&args, "--dest-password-env=SECRET");
	word(&args, "--state=%s/state", r->dir);
	word(&args, "--report=%s/report", r->dir);
	word(&args, "--progress=never");
	if (how->codec)
		word(&args, "--codec=%s", how->codec);
	words_env(&env, r, how);
	unlink(r->log);
	pid = start(r, args.v, env.v, how);
	words_free(&args);
	words_free(&env);
	return pid;
}

int rig_wait(pid_t pid, int ms)
{
	int64_t until = clock_ms() + ms;
	int st = 0;
	pid_t got;

	while ((got = waitpid(pid, &st, WNOHANG)) == 0 && clock_ms() < until)
		usleep(1000);
	if (got == 0) {
		kill(pid, SIGKILL); /* a child of ours that nobody has waited for */
		waitpid(pid, &st, 0);
		return RIG_HUNG;
	}
	return WIFEXITED(st) ? WEXITSTATUS(st) : RIG_SIGNAL + WTERMSIG(st);
}

int rig_copy(struct rig *r, const struct rig_run *how, int ms)
{
	return rig_wait(rig_start(r, how), ms);
}

static char *slurp(const char *path, size_t max)
{
	char *p = xmalloc(max + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, p, max);

	if (fd >= 0)
		close(fd);
	p[n > 0 ? n : 0] = '\0';
	return p;
}

char *rig_said(const struct rig *r)
{
	return slurp(r->said, SAID_MAX);
}

bool rig_log(const struct rig *r, struct fault_log *out)
{
	int fd = open(r->log, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, sizeof(*out));

	if (fd >= 0)
		close(fd);
	return n == sizeof(*out);
}

/* ---- what arrived ---- */

static bool wrong(char why[RIG_WHY], const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static bool wrong(char why[RIG_WHY], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, RIG_WHY, fmt, ap);
	va_end(ap);
	return false;
}

static bool imap_complete(struct rig *r, char why[RIG_WHY])
{
	unsigned n = fakeimap_copies(r->imap, NULL), k;
	size_t i;

	for (i = 0; i < RIG_MAIL; i++) {
		k = fakeimap_copies(r->imap, mail[i]);
		if (k != 1)
			return wrong(
				why, "letter %zu is at the IMAP side %u times", i, k);
	}
	if (n != RIG_MAIL)
		return wrong(why, "there are %u messages at the IMAP side", n);
	return true;
}

bool rig_verify(struct rig *r, char why[RIG_WHY])
{
	const struct rig_run plain = { .env = { NULL } };
	struct words args = { .n = 0 }, env = { .n = 0 };
	int code;
	char *said;

	word(&args, "popferry");
	word(&args, "verify");
	word(&args, "%s", r->archive);
	words_env(&env, r, &plain);
	code = rig_wait(start(r, args.v, env.v, &plain), 20000);
	words_free(&args);
	words_free(&env);
	if (code == 0)
		return true;
	said = rig_said(r);
	wrong(why, "popferry verify ends with %d: %.600s", code, said);
	free(said);
	return false;
}

struct seqs {
	uint64_t seq[4 * RIG_MAIL];
	size_t n;
};

static enum status take_seq(void *ctx, const struct archive_row *row, struct err *err)
{
	struct seqs *s = ctx;

	if (s->n == N_ELEMENTS(s->seq))
		return err_set(err, ST_FATAL, EX_SOFTWARE, "it has too many messages");
	s->seq[s->n++] = row->seq;
	return ST_OK;
}

static void take_bytes(void *ctx, const char *p, size_t n)
{
	buf_add(ctx, p, n);
}

static bool each_once(struct archive_reader *a, const struct seqs *s, char why[RIG_WHY])
{
	unsigned seen[RIG_MAIL] = { 0 };
	struct buf b = BUF_INIT(2 * LARGE);
	struct err err = ERR_INIT;
	bool ok = true;
	size_t i, k;

	for (k = 0; ok && k < s->n; k++) {
		buf_clear(&b);
		ok = archive_get(a, s->seq[k], take_bytes, &b, &err) == ST_OK;
		for (i = 0; ok && i < RIG_MAIL; i++)
			seen[i] += strcmp(mail[i], buf_str(&b)) == 0;
	}
	buf_free(&b);
	if (!ok)
		return wrong(why, "the archive: %s", err.text);
	for (i = 0; i < RIG_MAIL; i++)
		if (seen[i] != 1)
			return wrong(why, "letter %zu is in the archive %u times", i,
				seen[i]);
	if (s->n != RIG_MAIL)
		return wrong(why, "there are %zu messages in the archive", s->n);
	return true;
}

static void finding(void *ctx, const char *what)
{
	char *why = ctx;

	if (!*why)
		wrong(why, "the archive: %s", what);
}

static bool archive_complete(struct rig *r, char why[RIG_WHY])
{
	struct archive_reader *a = NULL;
	struct archive_check check;
	struct err err = ERR_INIT;
	struct seqs s = { .n = 0 };
	bool ok;

	*why = '\0';
	if (archive_read(&a, r->archive, &err) != ST_OK ||
		archive_each(a, take_seq, &s, &err) != ST_OK ||
		archive_verify(a, &check, finding, why, &err) != ST_OK)
		ok = wrong(why, "the archive: %s", err.text);
	else
		ok = !*why && each_once(a, &s, why);
	archive_done(&a);
	return ok;
}

bool rig_complete(struct rig *r, char why[RIG_WHY])
{
	return imap_complete(r, why) && archive_complete(r, why);
}
