/*
 * faultsignals.c: a run of popferry that gets a signal at a random moment, and then
 * a plain one that must find everything in order (quirk Q128). TAP.
 *
 *	faultsignals          15 rounds, from a seed that it prints
 *	FULL=1 faultsignals   300 rounds
 *	SEED=n faultsignals   the same moments again, as far as clocks allow
 */
#include "rig.h"

#include <popferry/clock.h>
#include <popferry/mem.h>

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "fakeimap.h"
#include "fakepop.h"

enum { ROUNDS = 15, ROUNDS_FULL = 300, WAIT_MS = 30000, PROMISE_MS = 10000 };

/* A call of recv() takes so long: the whole run, some tenths of a second. */
#define SLOW "FAULT_DELAY=4000"

static const struct kind {
	const char *name;
	int first, second; /* second 0: none */
	bool goes_on;      /* nothing is to come of it */
} kinds[] = {
	{ "SIGINT", SIGINT, 0, false },
	{ "SIGTERM", SIGTERM, 0, false },
	{ "SIGHUP", SIGHUP, 0, false },
	{ "SIGPIPE", SIGPIPE, 0, true },
	{ "SIGSTOP and SIGCONT", SIGSTOP, SIGCONT, true },
	{ "SIGTERM twice", SIGTERM, SIGTERM, false },
	{ "SIGINT, then SIGHUP", SIGINT, SIGHUP, false },
	{ "SIGKILL", SIGKILL, 0, false },
};

static uint64_t state;

static unsigned chance(unsigned n)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(state >> 33) % n;
}

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

/* What it ends with: by its own word, or (before it listens, or killed) by the
 * signal. */
static bool fits(struct rig *r, const struct kind *k, int code, char why[RIG_WHY])
{
	char *said = rig_said(r);
	bool ok = true;

	if (code == 0)
		ok = rig_complete(r, why);
	else if (k->goes_on || (code != EX_TEMPFAIL && code != RIG_SIGNAL + k->first))
		ok = wrong(why, "exit %d: %.500s", code, said);
	free(said);
	return ok;
}

static bool goes_on(struct rig *r, char why[RIG_WHY])
{
	const struct rig_run plain = { .env = { "FAULT_SPEED=20" } };
	unsigned changes, retrs;
	int i, code;
	char *said;

	for (i = 0; i < 2; i++) {
		changes = fakeimap_changes(r->imap);
		retrs = fakepop_count(r->pop, "RETR");
		code = rig_copy(r, &plain, WAIT_MS);
		if (code != 0) {
			said = rig_said(r);
			wrong(why, "then exit %d: %.500s", code, said);
			free(said);
			return false;
		}
		if (!rig_complete(r, why))
			return false;
	}
	if (fakeimap_changes(r->imap) != changes ||
		fakepop_count(r->pop, "RETR") != retrs)
		return wrong(why, "after a good run there is still work");
	return rig_verify(r, why);
}

/* Until it has received so often; not at all when it ends before. */
static void wait_for(const struct rig *r, pid_t pid, uint64_t received)
{
	struct fault_log log = { .fired = 0 };
	int64_t until = clock_ms() + WAIT_MS;
	siginfo_t ended = { .si_pid = 0 };

	while (clock_ms() < until && log.calls[FAULT_recv] < received) {
		usleep(500);
		waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT);
		if (ended.si_pid)
			break;
		rig_log(r, &log);
	}
}

/* *code is what the run with the signal ended with. */
static bool round_of(
	const struct kind *k, unsigned received, int *code, char why[RIG_WHY])
{
	const struct rig_run slow = { .env = { SLOW } };
	int64_t told;
	struct rig *r;
	pid_t pid;
	bool ok;

	rig_open(&r);
	pid = rig_start(r, &slow);
	wait_for(r, pid, received);
	usleep(chance(3000));
	kill(pid, k->first); /* not waited for yet: the number is its own */
	if (k->second) {
		usleep(chance(60000));
		kill(pid, k->second);
	}
	told = clock_ms();
	*code = rig_wait(pid, WAIT_MS);
	told = clock_ms() - told;
	ok = fits(r, k, *code, why);
	if (ok && told > PROMISE_MS)
		ok = wrong(why, "it took %lld ms to end", (long long)told);
	ok = ok && goes_on(r, why);
	rig_close(&r);
	return ok;
}

/* How often it receives when it is left alone. */
static unsigned usual(void)
{
	const struct rig_run slow = { .env = { SLOW } };
	struct fault_log log = { .fired = 0 };
	char why[RIG_WHY];
	struct rig *r;

	rig_open(&r);
	if (rig_copy(r, &slow, WAIT_MS) != 0 || !rig_log(r, &log) ||
		!rig_complete(r, why)) {
		printf("Bail out! a run without signals does not end well\n");
		exit(1);
	}
	rig_close(&r);
	return (unsigned)log.calls[FAULT_recv];
}

int main(void)
{
	const char *s = getenv("SEED");
	unsigned seed = s ? (unsigned)strtoul(s, NULL, 10)
			  : (unsigned)clock_utc() % 100000;
	int rounds = getenv("FULL") ? ROUNDS_FULL : ROUNDS, i, code, failed = 0,
	    early = 0;
	char why[RIG_WHY];
	unsigned whole;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	state = seed;
	rig_begin();
	whole = usual();
	for (i = 0; i < rounds; i++) {
		const struct kind *k = &kinds[(size_t)i % N_ELEMENTS(kinds)];
		unsigned received = chance(whole);
		bool ok = round_of(k, received, &code, why);

		printf("%s %d - %s after %u of %u answers, seed %u: exit %d\n",
			ok ? "ok" : "not ok", i + 1, k->name, received, whole, seed,
			code);
		if (!ok)
			printf("# %s\n", why);
		failed += !ok;
		early += code != 0;
	}
	printf("%s %d - at least a third of the runs were met on their way (%d)\n",
		early * 3 >= rounds ? "ok" : "not ok", ++i, early);
	failed += early * 3 < rounds;
	printf("1..%d\n", i);
	return failed > 0;
}
