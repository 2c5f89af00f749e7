/* signals.c: SIGINT, SIGTERM and SIGHUP end a run in good order. */
#include <popferry/mem.h>

#include "cli.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

enum { GRACE_SECONDS = 9 }; /* the promise is ten */

static struct engine *volatile running;
static volatile sig_atomic_t wake = -1;
static volatile sig_atomic_t over; /* nothing is to be stopped any more, only told */
static atomic_int asked;           /* other threads look at it, too */

static void on_signal(int sig)
{
	const uint64_t one = 1;
	struct engine *e = running;

	/* The second one means it; and the alarm is for a wait that has no end. */
	if (sig == SIGALRM || atomic_fetch_add(&asked, 1))
		_exit(EX_TEMPFAIL);
	if (e)
		engine_stop(e);
	else if (!over && (wake < 0 || write(wake, &one, sizeof(one)) < 0))
		_exit(EX_TEMPFAIL);
	alarm(GRACE_SECONDS);
}

static void catch_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGALRM };
	struct sigaction sa = { .sa_handler = on_signal };
	size_t i;

	sigemptyset(&sa.sa_mask);
	for (i = 0; i < N_ELEMENTS(signals); i++)
		sigaction(signals[i], &sa, NULL);
}

void stop_at_once(void)
{
	catch_signals();
}

void stop_on_signals(struct engine *e)
{
	running = e;
	catch_signals();
}

void stop_wakes(int fd)
{
	wake = fd;
	catch_signals();
}

void stop_politely(void (*stop)(int sig))
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction sa = { .sa_handler = stop, .sa_flags = (int)SA_RESETHAND };
	size_t i;

	sigemptyset(&sa.sa_mask);
	for (i = 0; i < N_ELEMENTS(signals); i++)
		sigaction(signals[i], &sa, NULL);
}

bool stop_asked(void)
{
	return atomic_load(&asked) != 0;
}

void stop_no_more(void)
{
	over = 1;
	running = NULL;
	wake = -1;
	alarm(0);
}
