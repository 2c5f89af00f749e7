/*
 * null.c: nowhere as a sink, for measuring how fast a source is.
 *
 * It answers "stored" and keeps nothing, so it says so loudly and can be neither read
 * back nor a reason to delete anything (config/check.c).
 */
#include <popferry/log.h>
#include <popferry/mem.h>

#include "sinks.h"

#include <stdlib.h>
#include <time.h>

struct null_sink {
	struct sink base;
	uint64_t generation, places;
};

static struct null_sink *self(const struct sink *s)
{
	return (struct null_sink *)(uintptr_t)s;
}

static char *null_identity(const struct endpoint *end)
{
	(void)end;
	return xstrdup("null:");
}

static enum status cannot_read(struct err *err)
{
	return err_set(err, ST_DENIED, EX_USAGE,
		"null: keeps nothing, so there is nothing to read back");
}

static void null_close(struct sink **sp)
{
	free(*sp);
	*sp = NULL;
}

/* Places count from 1 in each session, so no two sessions may share a generation. */
static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static enum status null_open(
	struct sink **out, const struct sink_setup *setup, struct err *err)
{
	struct null_sink *s;

	if (setup->reading)
		return cannot_read(err);
	log_warn(setup->log, "null-destination",
		LOG_S("meaning",
			"every message is read and thrown away: this is for measuring, "
			"and nothing is safe by it"));
	s = xcalloc(1, sizeof(*s));
	s->base.ops = &null_sink;
	s->generation = now_ns();
	*out = &s->base;
	return ST_OK;
}

static enum status null_floor(
	struct sink *base, const char *folder, struct sink_floor *out, struct err *err)
{
	struct null_sink *s = self(base);

	(void)folder;
	(void)err;
	*out = (struct sink_floor){ s->generation, s->places + 1, true };
	return ST_OK;
}

static void null_claim(struct sink *base, const char *folder, uint64_t generation,
	uint64_t place, const unsigned char exact[DIGEST])
{
	(void)base;
	(void)folder;
	(void)generation;
	(void)place;
	(void)exact;
}

static enum status null_find(struct sink *base, struct delivery *d,
	const struct sink_floor *from, int64_t until_ms, struct err *err)
{
	(void)base;
	(void)d;
	(void)from;
	(void)until_ms;
	(void)err;
	return ST_END;
}

static enum status null_put(struct sink *base, struct delivery *d, struct err *err)
{
	struct null_sink *s = self(base);

	(void)err;
	d->generation = s->generation;
	d->place = ++s->places;
	d->outcome = DELIVERY_STORED;
	return ST_OK;
}

/* All that was put is as durable as it will ever be. */
static enum status null_commit(struct sink *base, struct err *err)
{
	(void)base;
	(void)err;
	return ST_OK;
}

static enum status null_await(
	struct sink *base, const struct delivery *d, struct err *err)
{
	(void)d;
	return null_commit(base, err);
}

static enum status null_read(struct sink *base, const char *folder, uint64_t generation,
	const uint64_t *places, size_t n, const struct sink_reading *to,
	struct err *err)
{
	(void)base;
	(void)folder;
	(void)generation;
	(void)places;
	(void)n;
	(void)to;
	return cannot_read(err);
}

static enum status null_finish(struct sink *base, struct err *err)
{
	(void)base;
	(void)err;
	return ST_OK;
}

static bool null_overreached(const struct sink *base)
{
	(void)base;
	return false;
}

static int null_wait(const struct sink *base)
{
	(void)base;
	return 0;
}

static void null_cancel(struct sink *base)
{
	(void)base;
}

static const char *const schemes[] = { "null", NULL };

const struct sink_ops null_sink = {
	.schemes = schemes,
	.blind = true,
	.swallows = true,
	.identity = null_identity,
	.open = null_open,
	.floor = null_floor,
	.claim = null_claim,
	.find = null_find,
	.put = null_put,
	.flush = null_commit,
	.await = null_await,
	.commit = null_commit,
	.read = null_read,
	.finish = null_finish,
	.overreached = null_overreached,
	.wait_ms = null_wait,
	.cancel = null_cancel,
	.close = null_close,
};
