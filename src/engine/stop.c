/* stop.c: waits that a stop ends, and the thread that sees to it. */
#include <popferry/clock.h>

#include "engine_p.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { WATCH_MS = 50 };

void engine_stop(struct engine *e)
{
	const uint64_t one = 1;

	atomic_store(&e->stop, true);
	/* Full means it was told already. */
	if (write(e->stop_fd, &one, sizeof(one)) < 0)
		return;
}

enum status engine_stopped(struct err *err)
{
	return err_set(err, ST_DENIED, EX_TEMPFAIL,
		"stopped on request; run again to go on from here");
}

void engine_sleep(struct engine *e, int64_t ms)
{
	struct pollfd p = { e->stop_fd, POLLIN, 0 };
	int64_t until = clock_ms() + ms, left;

	while (!atomic_load(&e->stop) && (left = until - clock_ms()) > 0)
		poll(&p, 1, left > 60000 ? 60000 : (int)left);
}

void engine_backoff(struct engine *e, unsigned n, int asked_ms, const struct err *why,
	const char *side)
{
	int64_t ms = asked_ms > 0 ? asked_ms
				  : (int64_t)e->pace.backoff_ms << (n > 1 ? n - 1 : 0);

	log_warn(&e->log, "trying-again", LOG_S("side", side), LOG_U("try", n),
		LOG_U("wait_ms", (uint64_t)ms), LOG_S("reason", why->text));
	engine_phase(e, "waiting");
	engine_sleep(e, ms);
	engine_phase(e, "copying");
}

enum status engine_no_thread(int no, struct err *err)
{
	return err_set(err, ST_DENIED, EX_TEMPFAIL,
		"cannot start a thread: %s; try again when there is more room",
		strerror(no));
}

/* ---- the stop's watcher ---- */

/*
 * engine_stop() may be called from a signal handler, so it only writes to an
 * eventfd; this thread does what must be done under a lock.
 */
static void *watch(void *arg)
{
	struct engine *e = arg;
	struct pollfd p = { e->stop_fd, POLLIN, 0 };
	int64_t until, leave;
	bool over;
	size_t k;

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	pthread_mutex_lock(&e->lock);
	over = !e->watching;
	pthread_mutex_unlock(&e->lock);
	/* What is in flight may settle, but not for ever; the source first. */
	until = clock_ms() + e->pace.grace_ms;
	leave = until - e->pace.grace_ms / 4;
	while (!over && clock_ms() < until) {
		clock_sleep(WATCH_MS);
		pthread_mutex_lock(&e->lock);
		if (e->cancel_source && clock_ms() >= leave)
			e->cancel_source->ops->cancel(e->cancel_source);
		over = !e->watching;
		pthread_mutex_unlock(&e->lock);
	}
	pthread_mutex_lock(&e->lock);
	for (k = 0; e->watching && k < SINKS_MAX; k++)
		if (e->cancel_sink[k])
			e->cancel_sink[k]->ops->cancel(e->cancel_sink[k]);
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

enum status watch_start(struct engine *e, struct err *err)
{
	int no;

	if (e->stop_fd < 0) /* when the engine was made there was none to be had */
		e->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (e->stop_fd < 0)
		return err_sys(err, ST_DENIED, "eventfd");
	e->watching = true;
	no = pthread_create(&e->watcher, NULL, watch, e);
	if (no == 0)
		return ST_OK;
	e->watching = false;
	return engine_no_thread(no, err);
}

void watch_end(struct engine *e)
{
	bool stopped = atomic_load(&e->stop);

	if (!e->watching)
		return;
	pthread_mutex_lock(&e->lock);
	e->watching = false;
	pthread_mutex_unlock(&e->lock);
	engine_stop(e);
	pthread_join(e->watcher, NULL);
	atomic_store(&e->stop, stopped);
}
