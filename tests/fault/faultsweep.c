/*
 * faultsweep.c: a whole run of popferry with one system call that fails (quirk Q125),
 * once for each such call. TAP.
 *
 *	faultsweep             a selection, for `make check`
 *	FULL=1 faultsweep      every call; of malloc(), whose calls are thousands, the
 *	                       first and the last from each place (see FAULT_PLACES)
 *	faultsweep POINT...    only these, "write:17:ENOSPC"; "resume/" before one: in
 *	                       a run that goes on after a death; "zip/": another codec
 *	                       "files:N", "bytes:N": limits on open files and on the
 *	                       size of one; "clock:HOW": see FAULT_CLOCK
 *
 * Each point: popferry runs with the fault, and must end by itself, with an exit code
 * that tells the truth. Then it runs without; now everything must be at both
 * places, once. Then it must have nothing to do, and `popferry verify` nothing to say.
 */
#include "rig.h"

#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "fakeimap.h"
#include "fakepop.h"

enum {
	WAIT_MS = 20000,
	POINTS_MAX = 200000,
	WORKERS_MAX = 8,
	STEPS_MAX = 400,
	CODES = 256,
	IDLE_EVERY = 8, /* of a selection */
	TRIES = 5,
	DEEP = 4, /* calls */
	ALL = 1 << 30,
	HOUR = 3600,
	YEARS = 10 * 365 * 24 * HOUR,
};

/* How the run with the fault begins. */
enum scene {
	FIRST,  /* with nothing */
	RESUME, /* after one that died when both destinations had all of it */
	ZIP,    /* with nothing; another way to seal */
	SCENES
};

static const struct {
	const char *name, *codec, *dies_at;
} scenes[SCENES] = {
	[FIRST] = { "", NULL, NULL },
	[RESUME] = { "resume/", NULL, "durable" },
	[ZIP] = { "zip/", "zip", NULL },
};

/* What an exit code may be: by whose fault it is. */
enum side { DISK, NET, MEMORY, LIMIT, CLOCK };

static const struct {
	const char *name;
	int codes[8];
} sides[] = {
	[DISK] = { "73 74 75", { EX_CANTCREAT, EX_IOERR, EX_TEMPFAIL } },
	[NET] = { "69 74 75", { EX_UNAVAILABLE, EX_IOERR, EX_TEMPFAIL } },
	[MEMORY] = { "74 75", { EX_IOERR, EX_TEMPFAIL } },
	[LIMIT] = { "69 73 74 75",
		{ EX_UNAVAILABLE, EX_CANTCREAT, EX_IOERR, EX_TEMPFAIL } },
	[CLOCK] = { "0", { 0 } },
};

/* points: of a selection. Those with ALL are few, or each matters. */
static const struct group {
	enum scene scene;
	enum fault_family family;
	const char *error; /* "+" before it: of all calls from that one on */
	enum side side;
	unsigned points;
} groups[] = {
	{ FIRST, FAULT_fsync, "EIO", DISK, ALL },
	{ FIRST, FAULT_fdatasync, "EIO", DISK, ALL },
	{ FIRST, FAULT_rename, "EIO", DISK, ALL },
	{ FIRST, FAULT_ftruncate, "EIO", DISK, ALL },
	{ FIRST, FAULT_mkdir, "ENOSPC", DISK, ALL },
	{ FIRST, FAULT_unlink, "EIO", DISK, ALL },
	{ FIRST, FAULT_open, "EIO", DISK, 8 },
	{ FIRST, FAULT_openat, "EMFILE", DISK, 3 },
	{ FIRST, FAULT_pthread_create, "EAGAIN", MEMORY, ALL },
	{ FIRST, FAULT_write, "ENOSPC", DISK, 12 },
	{ FIRST, FAULT_write, "short", DISK, 3 },
	{ FIRST, FAULT_write, "EINTR", DISK, 3 },
	{ FIRST, FAULT_pwrite, "EIO", DISK, 3 },
	{ FIRST, FAULT_pwrite, "short", DISK, 3 },
	{ FIRST, FAULT_read, "EIO", DISK, 3 },
	{ FIRST, FAULT_read, "short", DISK, 3 },
	{ FIRST, FAULT_pread, "EIO", DISK, 3 },
	{ FIRST, FAULT_pread, "short", DISK, 3 },
	{ FIRST, FAULT_disk, "EDQUOT", DISK, 3 },
	{ FIRST, FAULT_disk, "+ENOSPC", DISK, 4 },
	{ FIRST, FAULT_stat, "EIO", DISK, 4 },
	{ FIRST, FAULT_fstat, "EIO", DISK, 4 },
	{ FIRST, FAULT_lseek, "EIO", DISK, 3 },
	{ FIRST, FAULT_mmap, "ENOMEM", MEMORY, ALL },
	{ FIRST, FAULT_flock, "ENOLCK", DISK, ALL },
	{ FIRST, FAULT_fcntl, "EIO", DISK, 4 },
	{ FIRST, FAULT_close, "EIO", DISK, 3 },
	{ FIRST, FAULT_fdopendir, "ENOMEM", DISK, 3 },
	{ FIRST, FAULT_readdir, "EIO", DISK, 4 },
	{ FIRST, FAULT_readlink, "EACCES", DISK, 3 },
	{ FIRST, FAULT_realpath, "EACCES", DISK, ALL },
	{ FIRST, FAULT_access, "EIO", DISK, 3 },
	{ FIRST, FAULT_fchmodat, "EIO", DISK, ALL },
	{ FIRST, FAULT_fopen, "EMFILE", DISK, ALL },
	{ FIRST, FAULT_getrandom, "EIO", DISK, ALL },
	{ FIRST, FAULT_socket, "EMFILE", NET, ALL },
	{ FIRST, FAULT_connect, "ENETUNREACH", NET, ALL },
	{ FIRST, FAULT_setsockopt, "ENOMEM", NET, 2 },
	{ FIRST, FAULT_getsockopt, "EIO", NET, ALL },
	{ FIRST, FAULT_eventfd, "EMFILE", NET, ALL },
	{ FIRST, FAULT_pipe, "EMFILE", NET, ALL },
	{ FIRST, FAULT_poll, "ENOMEM", NET, 4 },
	{ FIRST, FAULT_poll, "EINTR", NET, 2 },
	{ FIRST, FAULT_send, "EPIPE", NET, 3 },
	{ FIRST, FAULT_send, "short", NET, 3 },
	{ FIRST, FAULT_send, "EINTR", NET, 2 },
	{ FIRST, FAULT_recv, "ECONNRESET", NET, 3 },
	{ FIRST, FAULT_recv, "short", NET, 3 },
	{ FIRST, FAULT_recv, "EAGAIN", NET, 2 },
	{ FIRST, FAULT_malloc, "ENOMEM", MEMORY, 10 },
	{ RESUME, FAULT_fsync, "EIO", DISK, ALL },
	{ RESUME, FAULT_fdatasync, "EIO", DISK, ALL },
	{ RESUME, FAULT_ftruncate, "ENOSPC", DISK, ALL },
	{ RESUME, FAULT_rename, "ENOSPC", DISK, ALL },
	{ RESUME, FAULT_openat, "EIO", DISK, 3 },
	{ RESUME, FAULT_fdopendir, "ENOMEM", DISK, ALL },
	{ RESUME, FAULT_readdir, "EIO", DISK, 3 },
	{ RESUME, FAULT_pread, "EIO", DISK, 3 },
	{ RESUME, FAULT_read, "EIO", DISK, 3 },
	{ RESUME, FAULT_disk, "ENOSPC", DISK, 3 },
	{ RESUME, FAULT_disk, "+ENOSPC", DISK, 3 },
	{ RESUME, FAULT_access, "EIO", DISK, 4 },
	{ RESUME, FAULT_malloc, "ENOMEM", MEMORY, 3 },
	{ ZIP, FAULT_disk, "ENOSPC", DISK, 4 },
	{ ZIP, FAULT_pread, "EIO", DISK, 3 },
	{ ZIP, FAULT_disk, "EIO", DISK, 3 },
	{ ZIP, FAULT_read, "EIO", DISK, 4 },
};

/* What is no call: a name for `error`, and the numbers behind it in a point's. */
static const struct limit {
	struct group g;
	unsigned from, to, step;
} limits[] = {
	{ { FIRST, FAULT_N, "files:", LIMIT, 0 }, 5, 24, 1 },
	{ { RESUME, FAULT_N, "files:", LIMIT, 0 }, 8, 24, 4 },
	{ { FIRST, FAULT_N, "bytes:", DISK, 0 }, 8192, 360000, 38000 },
	{ { FIRST, FAULT_N, "clock:+", CLOCK, 0 }, HOUR, YEARS, YEARS - HOUR },
	{ { FIRST, FAULT_N, "clock:-", CLOCK, 0 }, HOUR, YEARS, YEARS - HOUR },
	{ { FIRST, FAULT_N, "clock:~", CLOCK, 0 }, HOUR, YEARS, YEARS - HOUR },
	{ { RESUME, FAULT_N, "clock:+", CLOCK, 0 }, HOUR, YEARS, YEARS - HOUR },
	{ { RESUME, FAULT_N, "clock:-", CLOCK, 0 }, HOUR, YEARS, YEARS - HOUR },
	{ { RESUME, FAULT_N, "clock:~", CLOCK, 0 }, HOUR, YEARS, YEARS - HOUR },
};

struct point {
	struct group g;
	char fault[48];
	bool idle; /* a last run, that must have nothing to do */
	/* What came of it: */
	int code;
	bool fired, done;
	char why[RIG_WHY + 1200];
};

struct board {
	atomic_size_t next;
	size_t n;
	struct point v[];
};

/* ---- a point ---- */

/* What a run without a fault tells. */
static struct {
	struct fault_log count[SCENES];
	uint64_t place[SCENES][FAULT_PLACES];
	int step_of[SCENES]; /* at which a scene's first run dies */
} * found;

static struct rig_run how_of(enum scene s)
{
	return (struct rig_run){ .env = { "FAULT_SPEED=20" },
		.codec = scenes[s].codec };
}

static int __attribute__((format(printf, 2, 3)))
bad(struct point *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->why, sizeof(p->why), fmt, ap);
	va_end(ap);
	return -1;
}

/* The number of the step by that name that comes last. */
static int find_step(const char *path, const char *name)
{
	FILE *f = fopen(path, "r");
	char line[100];
	int n = 0, last = 0;

	while (f && fgets(line, sizeof(line), f)) {
		n++;
		line[strcspn(line, "\n")] = '\0';
		if (strcmp(line, name) == 0)
			last = n;
	}
	if (f)
		fclose(f);
	return last;
}

/*
 * Dies as the scene says, so that the next run has something to go on from. The step
 * with that number may be another on a busy machine (see survey_step()): then once
 * more.
 */
static int prepare(struct rig **r, struct point *p)
{
	struct rig_run how = how_of(p->g.scene);
	int step = found->step_of[p->g.scene], code, i;
	char at[40], file[300], log[340];

	if (!scenes[p->g.scene].dies_at)
		return 0;
	for (i = 1;; i++) {
		snprintf(at, sizeof(at), "POPFERRY_CRASH_AT=%d", step);
		snprintf(file, sizeof(file), "%s/steps", (*r)->dir);
		snprintf(log, sizeof(log), "POPFERRY_CRASH_LOG=%s", file);
		how.env[1] = at;
		how.env[2] = log;
		code = rig_copy(*r, &how, WAIT_MS);
		if (i == TRIES ||
			(code == RIG_SIGNAL + SIGKILL &&
				find_step(file, scenes[p->g.scene].dies_at) == step))
			break;
		rig_close(r);
		rig_open(r);
	}
	if (code != RIG_SIGNAL + SIGKILL)
		return bad(p, "exit %d instead of a death at step %d", code, step);
	return 0;
}

static bool may_be(enum side s, int code)
{
	size_t i;

	for (i = 0; i < N_ELEMENTS(sides[s].codes); i++)
		if (sides[s].codes[i] && sides[s].codes[i] == code)
			return true;
	return false;
}

static bool is_sync(enum fault_family f)
{
	return f == FAULT_fsync || f == FAULT_fdatasync;
}

/*
 * Was it a library that wanted memory for itself? Of the C library only what is deep
 * inside: a lookup of users (NSS) does not survive it; what popferry calls itself must.
 */
static bool is_of_library(const char *where)
{
	unsigned deep = 0;

	if (strncmp(where, "lib", 3) != 0)
		return false;
	for (; strncmp(where, "libc.", 5) == 0; deep++) {
		where += strcspn(where, " ");
		where += *where == ' ';
	}
	return deep == 0 || deep >= DEEP;
}

/*
 * Where memory is missing, to die is allowed (see popferry/mem.h). popferry says so and
 * ends with 75; libraries do it by a signal, by exit(1), or fail without a reason.
 */
static bool may_die(const struct point *p, const struct fault_log *log)
{
	return p->g.family == FAULT_malloc && is_of_library(log->where) &&
		(p->code == RIG_SIGNAL + SIGABRT || p->code == RIG_SIGNAL + SIGSEGV ||
			p->code == 1 || p->code == EX_SOFTWARE);
}

/* The exit code of the run with the fault must be an honest one. */
static int judge(struct rig *r, struct point *p, const struct fault_log *log)
{
	char why[RIG_WHY], *whole = rig_said(r);
	const char *said = strstr(whole, "popferry: ");
	bool told = said && (said == whole || said[-1] == '\n');
	int rc = 0;

	if (!told)
		said = whole;

	if (p->code == RIG_HUNG)
		rc = bad(p, "it hangs: %.300s", said);
	else if (p->code > RIG_SIGNAL && !may_die(p, log))
		rc = bad(p, "signal %d: %.300s", p->code - RIG_SIGNAL, said);
	else if (p->code == 0 && !rig_complete(r, why))
		rc = bad(p, "exit 0, but %s", why);
	else if (p->code == 0 && p->fired && is_sync(p->g.family) && !log->healed &&
		!log->closing)
		rc = bad(p, "exit 0 with a sync that failed");
	else if (p->code && !p->fired)
		rc = bad(p, "exit %d without a fault: %.300s", p->code, said);
	else if (p->code && !may_be(p->g.side, p->code) && !may_die(p, log))
		rc = bad(p, "exit %d, none of %s: %.300s", p->code,
			sides[p->g.side].name, said);
	else if (p->code && !told && !may_die(p, log))
		rc = bad(p, "exit %d without a word: %.300s", p->code, said);
	if (rc < 0) {
		size_t n = strlen(p->why);

		snprintf(p->why + n, sizeof(p->why) - n, " [%s]", log->where);
	}
	free(whole);
	return rc;
}

static int run_well(struct rig *r, struct point *p, const char *which)
{
	struct rig_run how = how_of(p->g.scene);
	int code = rig_copy(r, &how, WAIT_MS), rc = 0;
	char why[RIG_WHY], *said = rig_said(r);

	if (code != 0)
		rc = bad(p, "exit %d, then %s exit %d: %.500s", p->code, which, code,
			said);
	else if (!rig_complete(r, why))
		rc = bad(p, "exit %d, then %s: %s", p->code, which, why);
	free(said);
	return rc;
}

static int run_idle(struct rig *r, struct point *p)
{
	unsigned changes = fakeimap_changes(r->imap);
	unsigned retrs = fakepop_count(r->pop, "RETR");

	char why[RIG_WHY];

	if (run_well(r, p, "at last") < 0)
		return -1;
	if (!rig_verify(r, why))
		return bad(p, "exit %d, and at last %s", p->code, why);
	if (fakeimap_changes(r->imap) != changes ||
		fakepop_count(r->pop, "RETR") != retrs)
		return bad(p, "exit %d, and after a good run there is still work",
			p->code);
	return 0;
}

/* text keeps what *how refers to. */
static void set_fault(struct rig_run *how, const struct point *p, char text[64])
{
	const char *value = strchr(p->fault, ':') + 1;

	if (strncmp(p->fault, "files:", 6) == 0) {
		how->files = strtoul(value, NULL, 10);
		return;
	}
	if (strncmp(p->fault, "bytes:", 6) == 0) {
		how->bytes = strtoul(value, NULL, 10);
		return;
	}
	if (strncmp(p->fault, "clock:", 6) == 0)
		snprintf(text, 64, "FAULT_CLOCK=%s", value);
	else
		snprintf(text, 64, "FAULT=%s", p->fault);
	how->env[1] = text;
}

static void run_point(struct point *p)
{
	struct rig_run how = how_of(p->g.scene);
	struct fault_log log = { .fired = 0 };
	char fault[64];
	struct rig *r;

	set_fault(&how, p, fault);
	rig_open(&r);
	if (prepare(&r, p) == 0) {
		p->code = rig_copy(r, &how, WAIT_MS);
		rig_log(r, &log);
		p->fired = log.fired > 0 || p->g.family == FAULT_N;
		if (judge(r, p, &log) == 0 && run_well(r, p, "again") == 0 && p->idle)
			run_idle(r, p);
	}
	p->done = true;
	rig_close(&r);
}

/* ---- which points there are ---- */

static bool read_places(const char *path, uint64_t place[FAULT_PLACES])
{
	FILE *f = fopen(path, "r");
	bool ok = f && fread(place, sizeof(*place), FAULT_PLACES, f) == FAULT_PLACES;

	if (f)
		fclose(f);
	return ok;
}

/*
 * At which step a scene's first run is to die. A busy machine cuts the mail into more
 * batches, and so has more steps: the least of some runs is that of one batch.
 */
static int survey_step(enum scene s)
{
	struct rig_run how = how_of(s);
	char file[300], env[340];
	int least = 0, step, i;
	struct rig *r;

	for (i = 0; i < TRIES; i++) {
		rig_open(&r);
		snprintf(file, sizeof(file), "%s/steps", r->dir);
		snprintf(env, sizeof(env), "POPFERRY_CRASH_LOG=%s", file);
		how.env[1] = env;
		step = rig_copy(r, &how, WAIT_MS) == 0
			? find_step(file, scenes[s].dies_at)
			: 0;
		if (step && (!least || step < least))
			least = step;
		rig_close(&r);
	}
	return least;
}

/* A run without a fault tells how often each function is called. */
static bool survey_scene(enum scene s)
{
	struct point p = { .g = { .scene = s } };
	struct rig_run how = how_of(s);
	char file[300], env[340], why[RIG_WHY];
	bool ok = true;
	struct rig *r;

	rig_open(&r);
	if (scenes[s].dies_at) {
		found->step_of[s] = survey_step(s);
		ok = found->step_of[s] && prepare(&r, &p) == 0;
	}
	snprintf(file, sizeof(file), "%s/places", r->dir);
	snprintf(env, sizeof(env), "FAULT_PLACES=%s", file);
	how.env[1] = env;
	if (ok)
		ok = rig_copy(r, &how, WAIT_MS) == 0 && rig_log(r, &found->count[s]) &&
			read_places(file, found->place[s]) && rig_complete(r, why);
	if (!ok) {
		char *said = rig_said(r);

		printf("Bail out! a run without faults (%s%s): %.400s\n",
			scenes[s].name, p.why, said);
		free(said);
	}
	rig_close(&r);
	return ok;
}

/* In a process of its own: those that follow must find no threads here. */
static void survey(void)
{
	int s, st = 0;
	pid_t pid;

	found = mmap(NULL, sizeof(*found), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (found == MAP_FAILED)
		exit(1);
	pid = fork();
	if (pid == 0) {
		for (s = 0; s < SCENES; s++)
			if (!survey_scene((enum scene)s))
				exit(1);
		exit(0);
	}
	if (waitpid(pid, &st, 0) != pid || st != 0)
		exit(1);
}

static const char *const family_names[] = {
#define NAME(name) #name,
	FAULT_FAMILIES(NAME)
};

static struct point *add(struct board *b, const struct group *g)
{
	if (b->n == POINTS_MAX)
		abort();
	b->v[b->n].g = *g;
	b->v[b->n].idle = b->n % IDLE_EVERY == 0 ||
		(getenv("FULL") && g->family != FAULT_malloc);
	return &b->v[b->n++];
}

/* Of the calls from its place, is this the first or the last? */
static bool is_first_or_last(const uint64_t *place, uint64_t n, uint64_t calls)
{
	uint64_t before = 0, after = n + 1;

	while (before < n && place[before] != place[n])
		before++;
	while (after < calls && place[after] != place[n])
		after++;
	return before == n || after == calls;
}

static void add_call(struct board *b, const struct group *g, uint64_t n)
{
	bool on = g->error[0] == '+';

	snprintf(add(b, g)->fault, sizeof(b->v->fault), "%s:%llu%s:%s",
		family_names[g->family], (unsigned long long)n, on ? "+" : "",
		g->error + on);
}

/* One call from each place may be one of thousands that do the same. */
static void add_places(struct board *b, const struct group *g)
{
	const uint64_t *place = found->place[g->scene];
	uint64_t calls = found->count[g->scene].calls[g->family], n;

	if (calls > FAULT_PLACES)
		abort();
	for (n = 0; n < calls; n++)
		if (is_first_or_last(place, n, calls))
			add_call(b, g, n + 1);
}

static void add_group(struct board *b, const struct group *g, bool full)
{
	uint64_t calls = found->count[g->scene].calls[g->family];
	uint64_t step = 1, n;

	if (full && g->family == FAULT_malloc) {
		add_places(b, g);
		return;
	}
	if (!full && calls > g->points)
		step = (calls + g->points - 1) / g->points;
	/* The seed shifts the selection: another day, other points. */
	n = 1 + (getenv("SEED") ? strtoul(getenv("SEED"), NULL, 10) % step : step / 2);
	for (; n <= calls; n += step)
		add_call(b, g, n);
}

static void add_limit(struct board *b, const struct limit *l)
{
	unsigned n;

	for (n = l->from; n <= l->to; n += l->step)
		snprintf(add(b, &l->g)->fault, sizeof(b->v->fault), "%s%u", l->g.error,
			n);
}

static void add_named(struct board *b, const char *text)
{
	struct group g = { FIRST, FAULT_N, "", LIMIT, 0 };
	size_t i, n;

	for (i = 1; i < SCENES; i++) {
		n = strlen(scenes[i].name);
		if (strncmp(text, scenes[i].name, n) == 0) {
			g.scene = (enum scene)i;
			text += n;
		}
	}
	for (i = 0; i < FAULT_N; i++)
		if (strncmp(text, family_names[i], strcspn(text, ":")) == 0 &&
			family_names[i][strcspn(text, ":")] == '\0')
			g.family = (enum fault_family)i;
	for (i = 0; i < N_ELEMENTS(groups); i++)
		if (groups[i].family == g.family)
			g.side = groups[i].side;
	for (i = 0; i < N_ELEMENTS(limits); i++)
		if (g.family == FAULT_N && text_starts(text, limits[i].g.error))
			g.side = limits[i].g.side;
	if (!strchr(text, ':'))
		abort();
	snprintf(add(b, &g)->fault, sizeof(b->v->fault), "%s", text);
}

/* ---- all of them ---- */

static void work(struct board *b)
{
	size_t i;

	while ((i = atomic_fetch_add(&b->next, 1)) < b->n)
		run_point(&b->v[i]);
	exit(0);
}

static void run_board(struct board *b)
{
	const char *s = getenv("JOBS");
	long jobs = s ? strtol(s, NULL, 10) : sysconf(_SC_NPROCESSORS_ONLN), i;
	int st;

	fflush(stdout);
	for (i = 0; i < jobs && i < WORKERS_MAX; i++)
		if (fork() == 0)
			work(b);
	while (wait(&st) > 0)
		;
}

static bool same_group(const struct group *a, const struct group *b)
{
	return a->scene == b->scene && a->family == b->family &&
		strcmp(a->error, b->error) == 0;
}

/* Prints the group that begins at i; where the next begins. */
static size_t tell_group(
	const struct board *b, size_t i, unsigned number, unsigned *failed)
{
	const struct group *g = &b->v[i].g;
	unsigned codes[CODES] = { 0 }, wrong = 0, n = 0, c;
	size_t first = i;

	for (; i < b->n && same_group(g, &b->v[i].g); i++) {
		const struct point *p = &b->v[i];

		n++;
		wrong += p->why[0] || !p->done;
		codes[p->code & (CODES - 1)]++;
	}
	printf("%s %u - %s%s %s: %u", wrong ? "not ok" : "ok", number,
		scenes[g->scene].name,
		g->family == FAULT_N ? "limit" : family_names[g->family], g->error, n);
	if (g->family != FAULT_N)
		printf(" of %llu calls",
			(unsigned long long)found->count[g->scene].calls[g->family]);
	printf(", exit");
	for (c = 0; c < CODES; c++)
		if (codes[c])
			printf(" %u (%u)", c, codes[c]);
	printf("\n");
	for (; first < i; first++)
		if (b->v[first].why[0] || !b->v[first].done)
			printf("# %s%s: %s\n", scenes[g->scene].name, b->v[first].fault,
				b->v[first].done ? b->v[first].why
						 : "the test itself died");
	*failed += wrong > 0;
	return i;
}

int main(int argc, char **argv)
{
	size_t size = sizeof(struct board) + POINTS_MAX * sizeof(struct point), i;
	struct board *b = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	unsigned number = 0, failed = 0;
	int64_t began = clock_ms();

	if (b == MAP_FAILED)
		return 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	rig_begin();
	survey();
	for (i = 1; i < (size_t)argc; i++)
		add_named(b, argv[i]);
	for (i = 0; argc == 1 && i < N_ELEMENTS(groups); i++)
		add_group(b, &groups[i], getenv("FULL") != NULL);
	for (i = 0; argc == 1 && i < N_ELEMENTS(limits); i++)
		add_limit(b, &limits[i]);
	run_board(b);
	for (i = 0; i < b->n;)
		i = tell_group(b, i, ++number, &failed);
	printf("1..%u\n# %zu fault points in %.1f s\n", number, b->n,
		(double)(clock_ms() - began) / 1000);
	return failed > 0;
}
