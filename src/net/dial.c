/* dial.c: from a name and a port to a connection, or to a good explanation. */
#include <popferry/clock.h>
#include <popferry/log.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "conn.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECT_MS = 30 * 1000, ADDRESSES_MAX = 16 };

/* Names that RFC 2606 promises never to exist; a machine without DNS cannot tell. */
static bool never_exists(const char *host)
{
	static const char *const ends[] = { ".invalid", ".test", ".example" };
	size_t n = strlen(host), i, k;

	if (n && host[n - 1] == '.')
		n--;
	for (i = 0; i < N_ELEMENTS(ends); i++) {
		k = strlen(ends[i]);
		if (n > k && text_same_n(host + n - k, ends[i], k))
			return true;
	}
	return false;
}

static enum status resolve(
	struct addrinfo **out, const struct net_config *cfg, struct err *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICSERV };
	char port[16];
	int rc;

	snprintf(port, sizeof(port), "%u", cfg->port);
	rc = getaddrinfo(cfg->host, port, &hints, out);
	if (rc == 0)
		return ST_OK;
	if (rc == EAI_NONAME || rc == EAI_NODATA || rc == EAI_ADDRFAMILY ||
		never_exists(cfg->host))
		return err_set(err, ST_DENIED, EX_NOHOST,
			"%s: unknown host %.200s: no such name in the DNS; check its spelling",
			cfg->name, cfg->host);
	return err_set(err, ST_RETRY, EX_TEMPFAIL,
		"%s: cannot look up %.200s: %s; is the DNS of this machine working?",
		cfg->name, cfg->host,
		rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
}

static void set_option(int fd, int level, int name, int value)
{
	/* An old kernel may lack one; the dialogue works without. */
	if (setsockopt(fd, level, name, &value, sizeof(value)) < 0)
		errno = 0;
}

static void tune(int fd)
{
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
	set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 15);
	set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
	set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 120 * 1000);
}

/* "source host:port" of the errors, as "host:port". */
static const char *host_port(const struct conn *c)
{
	return c->where + strlen(c->cfg.name) + 1;
}

static void name_peer(struct conn *c, const struct addrinfo *a)
{
	char text[NI_MAXHOST];

	if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof(text), NULL, 0,
		    NI_NUMERICHOST) != 0)
		snprintf(text, sizeof(text), "?");
	free(c->peer);
	c->peer = xasprintf("%s (%s)", host_port(c), text);
}

static enum status unreachable(struct conn *c, int no)
{
	enum status rc = ST_RETRY;

	c->dead = true;
	c->wire_errno = no;
	if (no == ECONNREFUSED)
		return err_set(&c->why, rc, EX_UNAVAILABLE,
			"%s: connection refused: nothing listens on %s; check host and port, or "
			"try again later",
			c->cfg.name, c->peer);
	if (no == ETIMEDOUT)
		return err_set(&c->why, rc, EX_TEMPFAIL,
			"%s: no answer from %s: is a firewall in between?", c->cfg.name,
			c->peer);
	return err_set(&c->why, rc, EX_UNAVAILABLE,
		"%s: cannot connect to %s: %s; is the network up?", c->cfg.name,
		c->peer, strerror(no));
}

static enum status connect_to(struct conn *c, const struct addrinfo *a)
{
	socklen_t len = sizeof(int);
	int no = 0;

	c->fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->fd < 0 || c->wake < 0)
		return unreachable(c, errno);
	tune(c->fd);
	if (connect(c->fd, a->ai_addr, a->ai_addrlen) == 0)
		return ST_OK;
	if (errno != EINPROGRESS)
		return unreachable(c, errno);
	c->doing = "our call";
	while (conn_wait(c, POLLOUT) == ST_OK) {
		struct pollfd p = { c->fd, POLLOUT, 0 };

		if (poll(&p, 1, 0) == 1)
			break;
	}
	c->doing = NULL;
	if (c->dead)
		return unreachable(c, ETIMEDOUT);
	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &no, &len) < 0)
		no = errno;
	return no ? unreachable(c, no) : ST_OK;
}

/* It is not news that a machine without IPv6 has no route to an IPv6 address. */
static bool no_route(const struct conn *c)
{
	return c->wire_errno == ENETUNREACH || c->wire_errno == EHOSTUNREACH ||
		c->wire_errno == EADDRNOTAVAIL || c->wire_errno == EAFNOSUPPORT;
}

static enum status try_address(
	struct conn *c, const struct net_config *cfg, const struct addrinfo *a)
{
	int64_t began = clock_ms();
	enum status rc;

	name_peer(c, a);
	c->until = began + cfg->connect_ms;
	rc = connect_to(c, a);
	c->rtt_ms = (int)(clock_ms() - began);
	if (rc == ST_OK)
		trace_note(c, "connected to %s", c->peer);
	if (rc == ST_OK && cfg->tls == TLS_IMPLICIT)
		rc = tls_start(c);
	if (rc != ST_OK) {
		trace_note(c, "%s", c->why.text);
		return rc;
	}
	log_debug(cfg->log, "connected", LOG_S("session", cfg->name),
		LOG_S("peer", c->peer), LOG_S("tls", c->info.version),
		LOG_S("cipher", c->info.cipher));
	return ST_OK;
}

enum status conn_dial(
	struct conn **out, const struct net_config *given, struct err *err)
{
	struct net_config cfg = *given;
	struct addrinfo *list = NULL, *a;
	struct err best = ERR_INIT;
	bool have_best = false;
	enum status rc;
	int tried = 0;

	if (!cfg.name)
		cfg.name = "peer";
	if (cfg.connect_ms <= 0)
		cfg.connect_ms = CONNECT_MS;
	rc = resolve(&list, &cfg, err);
	if (rc != ST_OK)
		return rc;
	rc = ST_RETRY;
	/* A server that was reached and turned down is not asked at another door. */
	for (a = list; a && rc == ST_RETRY && tried < ADDRESSES_MAX; a = a->ai_next) {
		struct conn *c = conn_new(&cfg);

		tried++;
		rc = try_address(c, &cfg, a);
		if (rc == ST_OK) {
			*out = c;
			break;
		}
		if (tried == 1 || rc != ST_RETRY || (!have_best && !no_route(c))) {
			conn_gone(c, &best);
			have_best = !no_route(c);
		}
		conn_close(&c);
	}
	freeaddrinfo(list);
	if (rc != ST_OK && err)
		*err = best;
	return rc;
}
