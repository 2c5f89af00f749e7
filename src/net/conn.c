/* conn.c: the beginning and the end of a connection, and its settings. */
#include <popferry/mem.h>

#include "conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	PATIENCE = 120 * 1000,
	RTT_MOST_MS = 1000, /* who takes longer is busy, not far away */
};

/* ---- beginning and end ---- */

static char *maybe_dup(const char *s)
{
	return s ? xstrdup(s) : NULL;
}

struct conn *conn_new(const struct net_config *cfg)
{
	struct conn *c = xcalloc(1, sizeof(*c));

	c->fd = c->wake = -1;
	c->cfg = *cfg;
	c->cfg.host = maybe_dup(cfg->host);
	c->cfg.ca_file = maybe_dup(cfg->ca_file);
	c->cfg.pin = maybe_dup(cfg->pin);
	c->cfg.name = xstrdup(cfg->name ? cfg->name : "peer");
	if (!cfg->host)
		c->where = xstrdup(c->cfg.name);
	else
		c->where = xasprintf(strchr(cfg->host, ':') ? "%s [%s]:%u" : "%s %s:%u",
			c->cfg.name, cfg->host, cfg->port);
	c->peer = xstrdup(c->where);
	c->patience = PATIENCE;
	c->budget = UINT64_MAX;
	c->want_in = POLLIN;
	c->want_out = POLLOUT;
	c->in = xmalloc(IN_SIZE);
	c->in_cap = IN_SIZE;
	atomic_init(&c->cancelled, false);
	return c;
}

void conn_over(struct conn **out, const struct transport *t, const char *name,
	struct trace *trace)
{
	struct net_config cfg = { .name = name, .tls = TLS_NONE, .trace = trace };
	struct conn *c = conn_new(&cfg);

	c->over = *t;
	*out = c;
}

void conn_close(struct conn **cp)
{
	struct conn *c = *cp;

	if (!c)
		return;
	conn_kill(c);
	etpan_free(c);
	trace_settle(c);
	zip_end(c);
	tls_end(c);
	if (c->fd >= 0)
		close(c->fd);
	else if (c->over.close)
		c->over.close(c->over.ctx);
	if (c->wake >= 0)
		close(c->wake);
	free((char *)c->cfg.host);
	free((char *)c->cfg.ca_file);
	free((char *)c->cfg.pin);
	free((char *)c->cfg.name);
	free(c->where);
	free(c->peer);
	free(c->in);
	explicit_bzero(c->out, sizeof(c->out));
	free(c);
	*cp = NULL;
}

enum status conn_fail(struct conn *c, enum status st, int ex, const char *fmt, ...)
{
	char text[ERR_TEXT];
	va_list ap;

	if (c->dead)
		return c->why.status;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->dead = true;
	return err_set(&c->why, st, ex, "%s %s", c->where, text);
}

enum status conn_lost(struct conn *c, int no)
{
	const char *when = c->doing ? c->doing : "the dialogue";
	const char *p = c->in + c->in_off, *lf;
	enum status rc;

	if (c->dead)
		return c->why.status;
	if (no)
		rc = conn_fail(c, ST_RETRY, EX_TEMPFAIL,
			"broke the connection during %s (%s); it can be tried again",
			when, strerror(no));
	else
		rc = conn_fail(c, ST_RETRY, EX_TEMPFAIL,
			"closed the connection during %s; it can be tried again", when);
	lf = memchr(p, '\n', c->in_n);
	if (lf && !c->quiet && !c->secret)
		err_reply(&c->why, p, (size_t)(lf - p) - (lf > p && lf[-1] == '\r'));
	return rc;
}

enum status conn_gone(const struct conn *c, struct err *err)
{
	if (err)
		*err = c->why;
	return c->why.status;
}

void conn_kill(struct conn *c)
{
	conn_fail(c, ST_RETRY, EX_TEMPFAIL, "was given up");
}

bool conn_dead(const struct conn *c)
{
	return c->dead;
}

void conn_cancel(struct conn *c)
{
	uint64_t one = 1;

	atomic_store(&c->cancelled, true);
	/* Only a full counter refuses, and that wakes as well. */
	if (c->wake >= 0 && write(c->wake, &one, sizeof(one)) < 0)
		return;
}

const char *conn_peer(const struct conn *c)
{
	return c->peer;
}

const struct tls_info *conn_tls(const struct conn *c)
{
	return c->tls ? &c->info : NULL;
}

struct conn_counts conn_counts(const struct conn *c)
{
	return c->counts;
}

int conn_rtt_ms(const struct conn *c)
{
	return c->rtt_ms;
}

void conn_answered(struct conn *c, int64_t ms)
{
	if (ms > c->rtt_ms)
		c->rtt_ms = ms < RTT_MOST_MS ? (int)ms : RTT_MOST_MS;
}

/* ---- settings ---- */

void conn_patience(struct conn *c, int ms)
{
	c->patience = ms;
}

void conn_budget(struct conn *c, uint64_t bytes)
{
	c->budget = bytes;
}

void conn_guard(struct conn *c, bool on)
{
	c->guard = on;
	guard_reset(c);
}

void conn_secret(struct conn *c, bool on)
{
	c->secret = on;
}

void conn_quiet(struct conn *c, bool on)
{
	if (c->quiet && !on)
		trace_settle(c);
	c->quiet = on;
}

void conn_ignore_stop(struct conn *c)
{
	c->cfg.stop_fd = 0;
}
