/*
 * sweep_kit.h: what the tests with thousands of runs share: rigs that cost little, on a
 * disk in memory where there is one, and runs in a process that may be killed.
 *
 * cmocka must be included before.
 */
#ifndef SWEEP_KIT_H
#define SWEEP_KIT_H

#include "engine_kit.h"
#include "stride.h"

#include "zygote.h"

#include <ftw.h>
#include <signal.h>
#include <sys/time.h>

/* fsync() is most of a run's time, and a process that dies proves nothing about it. */
static inline void sweep_dir(void)
{
	if (!getenv("TMPDIR") && access("/dev/shm", W_OK | X_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 1);
}

static inline void sweep_quiet(void)
{
	static int null = -1;

	if (null < 0)
		null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (getenv("KIT_LOG"))
		log_setup(LOG_TEXT, LV_DEBUG, 2);
	else
		log_setup(LOG_TEXT, LV_ERROR, null);
}

/* Every point, not a selection? Under a sanitizer that takes too long. */
static inline bool sweep_full(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return false;
#else
	const char *full = getenv("FULL");

	return full && *full && strcmp(full, "0") != 0;
#endif
}

static inline int sweep_unlink(
	const char *path, const struct stat *st, int what, struct FTW *at)
{
	(void)st;
	(void)what;
	(void)at;
	return remove(path);
}

static inline void sweep_remove(const char *dir)
{
	nftw(dir, sweep_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void sweep_open(struct rig **out)
{
	struct rig *r = xcalloc(1, sizeof(*r));
	const char *tmp = getenv("TMPDIR");

	snprintf(r->dir, sizeof(r->dir), "%s/sweep.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->state, sizeof(r->state), "%s/state", r->dir);
	snprintf(r->archive, sizeof(r->archive), "%s/archive", r->dir);
	fakepop_open(&r->pop);
	fakeimap_open(&r->imap);
	*out = r;
}

static inline void sweep_close(struct rig **rp)
{
	struct rig *r = *rp;
	size_t i;

	if (!r)
		return;
	fakepop_close(&r->pop);
	fakeimap_close(&r->imap);
	sweep_remove(r->dir);
	for (i = 0; i < N_ELEMENTS(r->texts); i++)
		free((char *)(uintptr_t)r->texts[i]);
	free(r);
	*rp = NULL;
}

/* A directive to a server; "_" is a blank inside of a word. */
static inline void sweep_say(struct rig *r, bool pop, const char *line)
{
	char copy[400], why[200] = "", *argv[32], *p = copy, *q;
	int argc = 0;
	bool ok;

	snprintf(copy, sizeof(copy), "%s", line);
	while ((argv[argc] = strsep(&p, " ")) && argc < 31)
		for (q = argv[argc++]; *q; q++)
			*q = *q == '_' ? ' ' : *q;
	ok = pop ? fakepop_say(r->pop, argc, argv, why, sizeof(why))
		 : fakeimap_say(r->imap, argc, argv, why, sizeof(why));
	if (!ok)
		fail_msg("%s: %s", line, why);
}

/* A run, told in a line that a process of its own can be given. */
struct sweep_run {
	unsigned pop, imap; /* ports; 0: those of the rig */
	int settle_ms, deadline_ms;
	int batch_count; /* 0: as KIT_BATCH says */
	int crash_at;    /* the step to die at; 0: none */
	int crash_us;    /* dies after so long; 0: never */
	bool log;        /* names of the steps go to "steps" in the rig's directory */
	const char *options;
};

static inline struct pace sweep_pace(const struct sweep_run *s)
{
	int settle = s->settle_ms ? s->settle_ms : 1;

	return (struct pace){ 1, settle, 300, s->deadline_ms,
		s->batch_count ? s->batch_count : kit_batch(), settle };
}

static inline struct job *sweep_job(struct rig *r, const struct sweep_run *s)
{
	return kit_job_at(r->dir, s->pop ? s->pop : fakepop_port(r->pop),
		s->imap ? s->imap : fakeimap_port(r->imap), s->options);
}

/* In this process. */
static inline int sweep_here(struct rig *r, const struct sweep_run *s)
{
	struct job *j = sweep_job(r, s);
	struct pace pace = sweep_pace(s);
	struct engine *e;
	int code;

	engine_new(&e, j, NULL);
	engine_pace(e, &pace);
	code = engine_run(e, &r->out);
	kit_ledger(&r->out.ledger, r->ledger, sizeof(r->ledger));
	assert_true(ledger_balances(&r->out.ledger));
	engine_free(&e);
	job_free(&j);
	return code;
}

/* What a zygote of these tests does. */
static inline int sweep_child(char *args)
{
	char *f[10];
	struct sweep_run s = { 0 };
	struct itimerval t = { { 0, 0 }, { 0, 0 } };
	struct outcome out;
	struct engine *e;
	struct pace pace;
	struct job *j;
	size_t i;

	for (i = 0; i < N_ELEMENTS(f); i++)
		f[i] = strsep(&args, "\n");
	s.settle_ms = (int)strtol(f[3], NULL, 10);
	s.deadline_ms = (int)strtol(f[4], NULL, 10);
	s.batch_count = (int)strtol(f[8], NULL, 10);
	pace = sweep_pace(&s);
	if (strcmp(f[5], "0") != 0)
		setenv("POPFERRY_CRASH_AT", f[5], 1);
	if (*f[7])
		setenv("POPFERRY_CRASH_LOG", f[7], 1);
	sweep_quiet();
	j = kit_job_at(f[0], (unsigned)strtoul(f[1], NULL, 10),
		(unsigned)strtoul(f[2], NULL, 10), f[9]);
	t.it_value.tv_usec = strtol(f[6], NULL, 10);
	t.it_value.tv_sec = t.it_value.tv_usec / 1000000;
	t.it_value.tv_usec %= 1000000;
	/* Nobody catches SIGALRM: it ends the process where it stands. */
	setitimer(ITIMER_REAL, &t, NULL);
	engine_new(&e, j, NULL);
	engine_pace(e, &pace);
	return engine_run(e, &out);
}

/* In a process of its own: the exit code, or -1 when it was killed as asked. */
static inline int sweep_apart(
	struct zygote *z, const struct rig *r, const struct sweep_run *s)
{
	char args[ZYGOTE_ARGS];
	int st;

	snprintf(args, sizeof(args), "%s\n%u\n%u\n%d\n%d\n%d\n%d\n%s%s\n%d\n%s", r->dir,
		s->pop ? s->pop : fakepop_port(r->pop),
		s->imap ? s->imap : fakeimap_port(r->imap), s->settle_ms,
		s->deadline_ms, s->crash_at, s->crash_us, s->log ? r->dir : "",
		s->log ? "/steps" : "", s->batch_count, s->options ? s->options : "");
	st = zygote_run(z, args);
	if (WIFSIGNALED(st) && WTERMSIG(st) == (s->crash_us ? SIGALRM : SIGKILL))
		return -1;
	if (!WIFEXITED(st))
		fail_msg("a process ended with %x", (unsigned)st);
	return WEXITSTATUS(st);
}

#endif
