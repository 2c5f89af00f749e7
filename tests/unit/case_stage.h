/*
 * case_stage.h: a case while it is played, and its runs. Part of t_cases.c.
 *
 * A run that shall die is a process of its own: the test program with the arguments
 * that run_child() takes.
 */
#ifndef CASE_STAGE_H
#define CASE_STAGE_H

#include "engine_kit.h"
#include "scene.h"

#include <popferry/text.h>

#include <pthread.h>
#include <signal.h>

enum { DEADLINE_MS = 2000 };

/* ---- the stage: a case while it is played ---- */

struct stage {
	struct rig *r;
	const struct scene *scene;
	pthread_mutex_t lock; /* of the next two: the POP3 server's thread asks */
	struct engine *engine;
	pid_t child;
	/* Of the last run. */
	bool ran, died;
	int code;
	int64_t took;
	char *report, *log;
};

static char here[300]; /* "FILE:LINE", for the alarm */

static void hung(int sig)
{
	static const char before[] = "not ok - ",
			  after[] = ": did not come to an end\n";

	(void)sig;
	if (write(1, before, sizeof(before) - 1) < 0 ||
		write(1, here, strlen(here)) < 0 ||
		write(1, after, sizeof(after) - 1) < 0)
		_exit(3);
	_exit(2);
}

/* "pop on X kill" and "pop on X stop". */
static void on_event(void *ctx, enum fakepop_event what)
{
	struct stage *s = ctx;

	pthread_mutex_lock(&s->lock);
	if (what == FAKEPOP_STOP && s->engine)
		engine_stop(s->engine);
	if (what == FAKEPOP_KILL && s->child > 0)
		kill(s->child, SIGKILL);
	pthread_mutex_unlock(&s->lock);
}

static char *slurp(const char *path)
{
	struct buf b = BUF_INIT(64UL * 1024 * 1024);
	char piece[4096];
	FILE *f = fopen(path, "re");
	size_t n;

	while (f && (n = fread(piece, 1, sizeof(piece), f)) > 0)
		buf_add(&b, piece, n);
	if (f)
		fclose(f);
	buf_addc(&b, '\0');
	return buf_take(&b);
}

/* ---- run ---- */

struct run {
	char options[900];         /* for kit_job_at() */
	char pop3[300], imap[300]; /* facts, lines of a profile */
	unsigned deadline, settle, stop_after, kill, crash, batch;
	bool process;
};

static bool append(char *text, size_t size, const char *before, const char *word)
{
	const size_t n = strlen(text);

	return snprintf(text + n, size - n, "%s%s", n ? before : "", word) <
		(int)(size - n);
}

/* An option of the job, or a fact of a server. */
static bool job_option(struct run *run, const char *word)
{
	if (text_starts(word, "fact."))
		return append(run->pop3, sizeof(run->pop3), "\n", word + 5);
	if (text_starts(word, "imap-fact."))
		return append(run->imap, sizeof(run->imap), "\n", word + 10);
	return append(run->options, sizeof(run->options), " ", word);
}

static bool run_options(struct run *run, int argc, char **argv, char *why, size_t cap)
{
	const struct {
		const char *name;
		unsigned *to;
	} numbers[] = { { "deadline", &run->deadline }, { "settle", &run->settle },
		{ "stop-after", &run->stop_after }, { "kill", &run->kill },
		{ "crash", &run->crash }, { "batch", &run->batch } };
	const char *value;
	size_t k;
	int i;

	*run = (struct run){ .deadline = DEADLINE_MS, .settle = 60 };
	for (i = 0; i < argc; i++) {
		for (k = 0; k < N_ELEMENTS(numbers); k++)
			if (scene_is(argv[i], numbers[k].name, &value))
				break;
		if (k < N_ELEMENTS(numbers)) {
			if (!value || !scene_number(value, numbers[k].to))
				return scene_bad(why, cap, "%s: no number", argv[i]);
		} else if (strcmp(argv[i], "process") == 0) {
			run->process = true;
		} else if (!job_option(run, argv[i])) {
			return scene_bad(why, cap, "too many options");
		}
	}
	run->process |= run->kill || run->crash;
	return true;
}

static int engine_once(
	struct stage *s, struct job *j, const struct run *run, struct outcome *out)
{
	const struct pace pace = { .backoff_ms = 5,
		.settle_ms = (int)run->settle,
		.grace_ms = 300,
		.deadline_ms = (int)run->deadline,
		.batch_count = run->batch ? (int)run->batch : kit_batch() };
	struct engine *e;
	int code;

	engine_new(&e, j, NULL);
	engine_pace(e, &pace);
	if (s) {
		pthread_mutex_lock(&s->lock);
		s->engine = e;
		pthread_mutex_unlock(&s->lock);
	}
	code = engine_run(e, out);
	if (s) {
		pthread_mutex_lock(&s->lock);
		s->engine = NULL;
		pthread_mutex_unlock(&s->lock);
	}
	engine_free(&e);
	return code;
}

struct timer {
	struct stage *stage;
	int64_t ms;
};

static void *stop_later(void *arg)
{
	struct timer *t = arg;

	clock_sleep(t->ms);
	on_event(t->stage, FAKEPOP_STOP);
	return NULL;
}

static void run_here(struct stage *s, const struct run *run)
{
	struct rig *r = s->r;
	struct job *j = kit_job(r, run->options);
	struct timer timer = { .stage = s, .ms = run->stop_after };
	char path[300];
	struct err err = ERR_INIT;
	pthread_t t;

	snprintf(path, sizeof(path), "%s/log", r->dir);
	log_setup(LOG_TEXT, LV_INFO,
		open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
	if (run->stop_after)
		assert_int_equal(pthread_create(&t, NULL, stop_later, &timer), 0);
	outcome_release(&r->out);
	s->took = clock_ms();
	s->code = engine_once(s, j, run, &r->out);
	s->took = clock_ms() - s->took;
	if (run->stop_after)
		pthread_join(t, NULL);
	log_setup(LOG_TEXT, LV_ERROR, 2);
	s->log = slurp(path);
	if (getenv("KIT_LOG"))
		fprintf(stderr, "%s: run\n%s", here, s->log);
	kit_ledger(&r->out.ledger, r->ledger, sizeof(r->ledger));
	snprintf(path, sizeof(path), "%s/report", r->dir);
	/* A run that got nowhere has no state to read failures from. */
	if (report_write(j, &r->out, path, &err) != ST_OK)
		fail_msg("%s: report: %s", here, err.text);
	s->report = slurp(path);
	job_free(&j);
}

static void run_process(struct stage *s, const struct run *run)
{
	char step[16], pop[16], imap[16], deadline[16], settle[16];
	int st;
	pid_t pid;

	snprintf(step, sizeof(step), "%u", run->crash);
	snprintf(pop, sizeof(pop), "%u", fakepop_port(s->r->pop));
	snprintf(imap, sizeof(imap), "%u", fakeimap_port(s->r->imap));
	snprintf(deadline, sizeof(deadline), "%u", run->deadline);
	snprintf(settle, sizeof(settle), "%u", run->settle);
	s->took = clock_ms();
	pthread_mutex_lock(&s->lock);
	pid = s->child = fork();
	if (pid == 0) {
		if (run->crash)
			setenv("POPFERRY_CRASH_AT", step, 1);
		execl("/proc/self/exe", "t_cases", "--run", s->r->dir, pop, imap,
			deadline, settle, run->options, (char *)NULL);
		_exit(127);
	}
	pthread_mutex_unlock(&s->lock);
	if (run->kill) {
		clock_sleep(run->kill);
		kill(pid, SIGKILL);
	}
	assert_int_equal(waitpid(pid, &st, 0), pid);
	pthread_mutex_lock(&s->lock);
	s->child = 0;
	pthread_mutex_unlock(&s->lock);
	s->took = clock_ms() - s->took;
	s->died = true;
	if (!WIFEXITED(st) && !(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL))
		fail_msg("%s: the process ended with %x", here, (unsigned)st);
	/* It may have been faster. */
	if (WIFEXITED(st) && WEXITSTATUS(st) != 0 && WEXITSTATUS(st) != EX_PARTIAL &&
		WEXITSTATUS(st) != EX_TEMPFAIL)
		fail_msg("%s: the process ended with exit code %d", here,
			WEXITSTATUS(st));
}

/* The process: "--run", the rig's directory, ports, deadline, settling, options. */
static int run_child(char **argv)
{
	struct run run = { .deadline = (unsigned)strtoul(argv[5], NULL, 10),
		.settle = (unsigned)strtoul(argv[6], NULL, 10) };
	struct job *j = kit_job_at(argv[2], (unsigned)strtoul(argv[3], NULL, 10),
		(unsigned)strtoul(argv[4], NULL, 10), argv[7]);
	struct outcome out;
	int code;

	log_setup(LOG_TEXT, LV_ERROR, open("/dev/null", O_WRONLY | O_CLOEXEC));
	code = engine_once(NULL, j, &run, &out);
	outcome_release(&out);
	job_free(&j);
	return code;
}

static void forget_run(struct stage *s)
{
	free(s->report);
	free(s->log);
	s->report = s->log = NULL;
}

/* What is known of the servers becomes a profile. */
static bool write_profile(struct stage *s, struct run *run)
{
	char path[300];
	FILE *f;

	if (!*run->pop3 && !*run->imap)
		return true;
	snprintf(path, sizeof(path), "%s/case.conf", s->r->dir);
	f = fopen(path, "we");
	assert_non_null(f);
	if (*run->pop3)
		fprintf(f, "[pop3]\n%s\n", run->pop3);
	if (*run->imap)
		fprintf(f, "[imap]\n%s\n", run->imap);
	assert_int_equal(fclose(f), 0);
	if (*run->pop3 &&
		(!append(run->options, sizeof(run->options), " ", "source-profile=") ||
			!append(run->options, sizeof(run->options), "", path)))
		return false;
	return !*run->imap ||
		(append(run->options, sizeof(run->options), " ", "dest-profile=") &&
			append(run->options, sizeof(run->options), "", path));
}

static bool say_run(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct stage *s = ctx;
	const struct ledger *l = &s->r->out.ledger;
	struct run run;

	if (!run_options(&run, argc, argv, why, cap))
		return false;
	forget_run(s);
	fakepop_mark(s->r->pop);
	s->ran = true;
	s->died = false;
	if (!write_profile(s, &run))
		return scene_bad(why, cap, "too many options");
	if (run.process)
		run_process(s, &run);
	else
		run_here(s, &run);
	if (fakepop_violation(s->r->pop))
		return scene_bad(why, cap, "the POP3 server saw %s",
			fakepop_violation(s->r->pop));
	if (fakeimap_has(s->r->imap, "pwned"))
		return scene_bad(why, cap, "mail was carried out as IMAP commands");
	if (s->died)
		return true;
	if (!ledger_balances(l))
		return scene_bad(
			why, cap, "the ledger does not balance: %s", s->r->ledger);
	if (s->code == 0 && (l->failed || (l->left && !strstr(run.options, "dry-run"))))
		return scene_bad(why, cap, "exit 0, but %s", s->r->ledger);
	return true;
}

#endif
