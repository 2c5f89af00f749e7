/* flow.c: buffers, waiting, and who goes first. */
#include <popferry/clock.h>
#include <popferry/mem.h>

#include "conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { MIN_ROOM = 4096 };

/* ---- waiting ---- */

static void be_patient(struct conn *c)
{
	c->until = clock_ms() + c->patience;
}

static enum status silent(struct conn *c)
{
	double s = c->patience / 1000.0;

	if (c->doing)
		return conn_fail(c, ST_RETRY, EX_TEMPFAIL,
			"gave no answer to %s in time (a firewall, or not the kind of server "
			"that is expected on this port?)",
			c->doing);
	if (!c->tls && c->fd >= 0 && !c->counts.in)
		return conn_fail(c, ST_RETRY, EX_UNAVAILABLE,
			"said nothing for %.3g s; if this is a port where TLS comes first "
			"(995, 993), use pop3s:// or imaps:// (implicit TLS)",
			s);
	return conn_fail(c, ST_RETRY, EX_TEMPFAIL,
		"was silent for %.3g s (--timeout sets how long is waited)", s);
}

/* What is less does not wake us. The kernel may not know this: then it does. */
static void low_water(struct conn *c, bool on)
{
	int n = on ? LOW_WATER : 1;

	if (on == c->patient)
		return;
	c->patient = on;
	setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &n, sizeof(n));
}

/* With a limit: returns when that is over, too, and waits for much to read. */
static enum status wait_some(struct conn *c, short events, int most)
{
	struct pollfd fds[3] = { { c->fd, events, 0 }, { c->wake, POLLIN, 0 },
		{ c->cfg.stop_fd > 0 ? c->cfg.stop_fd : -1, POLLIN, 0 } };
	int64_t left = c->until - clock_ms();
	int ms = left > most ? most : (int)left;

	if (atomic_load(&c->cancelled))
		goto cancelled;
	if (left <= 0)
		return silent(c);
	if (c->fd < 0)
		return c->over.wait(c->over.ctx, (events & POLLOUT) != 0, ms)
			? ST_OK
			: silent(c);
	low_water(c, most != INT32_MAX);
	if (poll(fds, 3, ms) < 0) {
		if (errno != EINTR)
			return conn_lost(c, errno);
		return ST_OK;
	}
	if (fds[1].revents || fds[2].revents)
		goto cancelled;
	return ST_OK;
cancelled:
	return conn_fail(c, ST_RETRY, EX_TEMPFAIL, "was interrupted on request");
}

static enum status wait_at_most(struct conn *c, short events, int most)
{
	int64_t start = events & POLLOUT ? clock_ms() : 0;
	enum status rc = wait_some(c, events, most);

	if (events & POLLOUT)
		c->blocked_ms += (uint64_t)(clock_ms() - start);
	return rc;
}

enum status conn_wait(struct conn *c, short events)
{
	return wait_at_most(c, events, INT32_MAX);
}

/* ---- receiving ---- */

/* Room behind the received bytes, never more than limit allows in all. */
static size_t make_room(struct conn *c, size_t limit)
{
	size_t room;

	if (c->in_n >= limit)
		return 0;
	if (c->in_off && c->in_cap - c->in_off - c->in_n < MIN_ROOM) {
		memmove(c->in, c->in + c->in_off, c->in_n);
		c->in_off = 0;
	}
	if (c->in_n == c->in_cap) {
		c->in_cap *= 2;
		c->in = xrealloc(c->in, c->in_cap);
	}
	room = c->in_cap - c->in_off - c->in_n;
	if (room > limit - c->in_n)
		room = limit - c->in_n;
	return room < c->budget ? room : (size_t)c->budget;
}

/* A TLS record where a greeting was expected. */
static bool is_tls_record(const struct conn *c)
{
	const char *p = c->in + c->in_off;

	return !c->tls && c->counts.in == c->in_n && c->in_n >= 2 &&
		(p[0] == 0x15 || p[0] == 0x16) && p[1] == 0x03;
}

/* Receives what is there. Bytes got, 0 for none now, IO_FAIL. */
static long pull(struct conn *c, size_t limit)
{
	size_t got = 0, room;
	long k = IO_AGAIN;

	while (!c->eof && (room = make_room(c, limit)) > 0) {
		k = io_read(c, c->in + c->in_off + c->in_n, room);
		c->eof = k == 0;
		if (k <= 0)
			break;
		c->in_n += (size_t)k;
		got += (size_t)k;
		c->counts.in += (size_t)k;
		c->expect -= (size_t)k < c->expect ? (size_t)k : c->expect;
		if (c->budget != UINT64_MAX)
			c->budget -= (size_t)k;
		if (!io_more(c))
			break;
	}
	if (is_tls_record(c)) {
		conn_fail(c, ST_DENIED, EX_UNAVAILABLE,
			"speaks TLS from the first byte; use pop3s:// or imaps://");
		return IO_FAIL;
	}
	if (got)
		be_patient(c);
	return k == IO_FAIL ? IO_FAIL : (long)got;
}

const char *conn_peek(const struct conn *c, size_t *n)
{
	*n = c->in_n;
	return c->in + c->in_off;
}

/* Lets the first n bytes go. */
static void take(struct conn *c, size_t n)
{
	c->in_off += n;
	c->in_n -= n;
	if (!c->in_n)
		c->in_off = 0;
}

void conn_take(struct conn *c, size_t n)
{
	n = n < c->in_n ? n : c->in_n;
	trace_got(c, c->in + c->in_off, n);
	take(c, n);
}

/* ---- sending ---- */

/* Forgets the first n gathered bytes; no password stays behind them. */
static void sent(struct conn *c, size_t n)
{
	size_t left = c->out_n - n;

	memmove(c->out, c->out + n, left);
	if (c->out_secret) {
		explicit_bzero(c->out + left, n);
		c->out_secret = left > 0;
	}
	c->out_n = left;
}

static void gather(struct conn *c, const char *p, size_t n)
{
	memcpy(c->out + c->out_n, p, n);
	c->out_n += n;
	c->out_secret |= c->secret;
}

static bool is_pending(const struct conn *c)
{
	return c->out_n || (c->zip && zip_unsent(c));
}

/*
 * Sends gathered bytes, then from *p, as far as the kernel takes them. Bytes
 * sent, 0 for none now, IO_FAIL.
 */
static long push(struct conn *c, const char **p, size_t *n)
{
	const uint64_t before = c->counts.wire_out;
	size_t off = 0, moved = 0;
	long k = 0;

	while (off < c->out_n || *n) {
		k = io_write(c, c->out + off, c->out_n - off, *p, *n);
		if (k < 0)
			break;
		moved += (size_t)k;
		if ((size_t)k > c->out_n - off) {
			*p += (size_t)k - (c->out_n - off);
			*n -= (size_t)k - (c->out_n - off);
			off = c->out_n;
		} else {
			off += (size_t)k;
		}
	}
	if (c->zip && k >= 0)
		k = zip_sync(c);
	c->counts.out += moved;
	sent(c, off);
	if (moved || c->counts.wire_out != before)
		be_patient(c);
	return k == IO_FAIL ? IO_FAIL : (long)moved;
}

static long push_gathered(struct conn *c)
{
	const char *none = NULL;
	size_t n = 0;

	return is_pending(c) ? push(c, &none, &n) : 0;
}

/*
 * When nothing could be sent: receives, so that the peer can go on too, and
 * waits when there was nothing to receive either.
 */
static enum status while_blocked(struct conn *c)
{
	long got = pull(c, IN_CEILING);
	short events = c->want_out;

	if (got == IO_FAIL)
		return c->why.status;
	if (got > 0)
		return ST_OK;
	if (!c->eof && c->in_n < IN_CEILING && c->budget)
		events |= c->want_in;
	return conn_wait(c, events);
}

static enum status send_large(struct conn *c, const char *p, size_t n, struct err *err)
{
	size_t k;

	be_patient(c);
	/* What was gathered travels in one record with the start of this. */
	if (c->tls && c->out_n && c->out_n < LARGE_PIECE) {
		k = LARGE_PIECE - c->out_n < n ? LARGE_PIECE - c->out_n : n;
		gather(c, p, k);
		p += k;
		n -= k;
	}
	for (;;) {
		if (push(c, &p, &n) == IO_FAIL)
			return conn_gone(c, err);
		if (n <= OUT_SIZE - c->out_n)
			break;
		if (while_blocked(c) != ST_OK)
			return conn_gone(c, err);
	}
	gather(c, p, n);
	return ST_OK;
}

enum status conn_send(struct conn *c, const void *p, size_t n, struct err *err)
{
	if (c->dead)
		return conn_gone(c, err);
	trace_sent(c, p, n);
	if (n >= LARGE_PIECE || n > OUT_SIZE - c->out_n)
		return send_large(c, p, n, err);
	gather(c, p, n);
	return ST_OK;
}

enum status conn_sendf(struct conn *c, struct err *err, const char *fmt, ...)
{
	enum status rc;
	char *text;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		xmemory_gone();
	rc = conn_send(c, text, (size_t)n, err);
	explicit_bzero(text, (size_t)n);
	free(text);
	return rc;
}

enum status conn_flush(struct conn *c, struct err *err)
{
	if (c->dead)
		return conn_gone(c, err);
	be_patient(c);
	for (;;) {
		if (push_gathered(c) == IO_FAIL)
			return conn_gone(c, err);
		if (!is_pending(c))
			return ST_OK;
		if (while_blocked(c) != ST_OK)
			return conn_gone(c, err);
	}
}

void conn_part(struct conn *c, const char *word)
{
	if (conn_sendf(c, NULL, "%s", word) == ST_OK && conn_flush(c, NULL) == ST_OK &&
		c->fd >= 0) {
		if (c->tls)
			tls_part(c);
		shutdown(c->fd, SHUT_WR);
	}
	conn_kill(c);
}

size_t conn_unsent(const struct conn *c)
{
	return c->out_n;
}

/* ---- both ---- */

/* One attempt in each direction. Bytes received or IO_FAIL. */
static long turn(struct conn *c)
{
	if (push_gathered(c) == IO_FAIL)
		return IO_FAIL;
	return pull(c, c->in_n < IN_SIZE ? IN_SIZE : IN_CEILING);
}

enum status conn_fill(struct conn *c, struct err *err)
{
	bool lull = c->fd >= 0 && c->expect >= 2 * LOW_WATER, drained;
	long got;

	if (c->dead)
		return conn_gone(c, err);
	be_patient(c);
	if (c->in_n >= IN_CEILING)
		conn_fail(c, ST_DENIED, EX_PROTOCOL,
			"sent %zu bytes that do not come to an end", c->in_n);
	else if (!c->budget)
		conn_fail(c, ST_DENIED, EX_PROTOCOL,
			"sent a longer answer than is accepted");
	while (!c->dead) {
		/* Where the last look took all there was, this one would be in vain. */
		drained = c->drained && !io_more(c);
		c->drained = false;
		got = drained ? push_gathered(c) : turn(c);
		if (got == IO_FAIL)
			break;
		if (got > 0 && !drained)
			return ST_OK;
		if (c->eof)
			conn_lost(c, 0);
		else
			wait_at_most(c,
				is_pending(c) ? c->want_in | c->want_out : c->want_in,
				lull ? LULL_MS : INT32_MAX);
		lull = false;
	}
	return conn_gone(c, err);
}

void conn_expect(struct conn *c, uint64_t bytes)
{
	c->expect = bytes;
}

enum status conn_poll(struct conn *c, struct err *err)
{
	if (c->dead)
		return conn_gone(c, err);
	if (turn(c) == IO_FAIL)
		return conn_gone(c, err);
	if (c->eof && !c->in_n) {
		conn_lost(c, 0);
		return conn_gone(c, err);
	}
	return ST_OK;
}

enum status conn_line(
	struct conn *c, size_t max, const char **line, size_t *n, struct err *err)
{
	size_t seen = 0, len;
	enum status rc;
	char *p, *lf;

	if (c->dead)
		return conn_gone(c, err);
	for (;;) {
		p = c->in + c->in_off;
		lf = memchr(p + seen, '\n', c->in_n - seen);
		seen = c->in_n;
		if (lf || seen > max + 1)
			break;
		rc = conn_fill(c, err);
		if (rc != ST_OK)
			return rc;
	}
	len = lf ? (size_t)(lf - p) : seen;
	if (len && lf && lf[-1] == '\r')
		len--;
	if (len > max)
		return err_set(err, ST_DENIED, EX_PROTOCOL,
			"%s sent a line of more than %zu bytes", c->where, max);
	trace_got(c, p, (size_t)(lf - p) + 1);
	if (!conn_guarded(c, p, len))
		return conn_gone(c, err);
	guard_reset(c);
	take(c, (size_t)(lf - p) + 1);
	p[len] = '\0';
	*line = p;
	*n = len;
	return ST_OK;
}
