/*
 * retr.c: messages, with as many RETRs on the wire as the window allows.
 *
 * The window holds what comes in a second: many times what is on its way on any
 * line, and no more than a stop can wait for. It is filled again when half of it is
 * empty, so that the server never waits for us and many commands travel in one
 * segment. It is
 * filled only while we would wait anyway; sending then happens in conn_fill(),
 * which receives meanwhile, so the two sides cannot wait for each other.
 */
#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "session.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
	FIRST_WANTS = 64,
	UNKNOWN_SIZE = 64 * 1024, /* expected of a message whose size is not known */
	UNSENT_MAX = 32 * 1024,   /* of commands gathered at a time */
	GLUED_MS = 5000,          /* of silence behind a dot make it the end */
	POLL_MS = 20,
	METER_MS = 100, /* the line is measured over so long */
};
/* Until the line has been measured: some, and what a line of a gigabit holds. */
#define WINDOW_FIRST ((uint64_t)4 << 20)
#define WINDOW_MS ((uint64_t)128 << 10)
#define WINDOW_LEAST ((uint64_t)256 << 10)
/* How far beyond the limit a message is read to its end, to be skipped. */
#define DRAIN_MAX ((uint64_t)4 << 30)

/* ---- the window ---- */

void pop3_want(struct pop3 *p, uint32_t number, uint64_t size)
{
	struct wants *q = &p->wants;
	uint64_t expect = size;

	if (q->head == q->n)
		q->head = q->sent = q->n = 0;
	if (q->n == q->cap && q->head > q->cap / 2) {
		q->n -= q->head;
		q->sent -= q->head;
		memmove(q->p, q->p + q->head, q->n * sizeof(*q->p));
		q->head = 0;
	}
	if (q->n == q->cap) {
		q->cap = q->cap ? q->cap * 2 : FIRST_WANTS;
		q->p = xreallocarray(q->p, q->cap, sizeof(*q->p));
	}
	if (expect == UINT64_MAX)
		expect = UNKNOWN_SIZE;
	if (expect > p->cfg.window_bytes)
		expect = p->cfg.window_bytes;
	q->p[q->n++] = (struct want){ number, size, expect };
}

void pop3_wind_down(struct pop3 *p)
{
	p->wants.n = p->wants.sent;
}

static size_t due(const struct pop3 *p)
{
	return p->wants.sent - p->wants.head;
}

static uint64_t window(const struct pop3 *p)
{
	uint64_t n = p->wants.window;

	if (!n)
		n = WINDOW_FIRST + WINDOW_MS * (uint64_t)conn_rtt_ms(p->c);
	return n < p->cfg.window_bytes ? n : p->cfg.window_bytes;
}

static void measure(struct wants *q, uint64_t n)
{
	int64_t now = clock_ms();
	uint64_t per_s;

	if (!q->since_ms)
		q->since_ms = now;
	q->came += n;
	if (now - q->since_ms < METER_MS)
		return;
	per_s = q->came * 1000 / (uint64_t)(now - q->since_ms);
	q->window = per_s > WINDOW_LEAST ? per_s : WINDOW_LEAST;
	q->since_ms = now;
	q->came = 0;
}

static bool has_room(const struct pop3 *p)
{
	const struct wants *q = &p->wants;

	if (q->sent == q->n)
		return false;
	if (!p->ahead)
		return due(p) == 0;
	return due(p) <= p->cfg.window_count / 2 && q->expect <= window(p) / 2;
}

/* As many as there are messages: formatting each would take longer than sending it. */
static enum status ask(struct pop3 *p, uint32_t number, struct err *err)
{
	static const char verb[] = { 'R', 'E', 'T', 'R', ' ' };
	char command[sizeof(verb) + NUMBER_MAX + 2], *end;

	memcpy(command, verb, sizeof(verb));
	end = text_number(command + sizeof(verb), number);
	*end++ = '\r';
	*end++ = '\n';
	return conn_send(p->c, command, (size_t)(end - command), err);
}

static enum status refill(struct pop3 *p, struct err *err)
{
	size_t most = p->ahead ? p->cfg.window_count : 1;
	struct wants *q = &p->wants;
	enum status st = ST_OK;

	if (!has_room(p))
		return ST_OK;
	if (!due(p))
		st = talk_settled(p, err);
	while (st == ST_OK && q->sent < q->n && due(p) < most &&
		(!due(p) || q->expect < window(p)) && conn_unsent(p->c) < UNSENT_MAX) {
		st = ask(p, q->p[q->sent].number, err);
		q->expect += q->p[q->sent++].expect;
	}
	return st;
}

/* n bytes of the message at the head have come. */
static void arrived(struct pop3 *p, uint64_t n)
{
	struct wants *q = &p->wants;
	struct want *w = &q->p[q->head];

	if (n != UINT64_MAX)
		measure(q, n);
	if (n > w->expect)
		n = w->expect;
	w->expect -= n;
	q->expect -= n;
}

static void answered(struct pop3 *p)
{
	arrived(p, UINT64_MAX);
	p->wants.head++;
}

/* ---- one message ---- */

enum { TAIL = 5, HEAD = 4 };

struct taker {
	mail_take *take;
	void *ctx;
	uint64_t n, max;
	uint64_t came; /* with the dots of POP3 */
	bool bare;     /* its status line ended in LF alone */
	bool hold;     /* the last bytes, in case the dot there is not the message's */
	char held[TAIL]; /* not given out yet */
	size_t held_n;
	char tail[TAIL]; /* the last bytes as they came */
	char head[HEAD]; /* and the first ones */
	size_t head_n;
};

static void give(struct taker *t, const char *p, size_t n)
{
	if (n && t->n <= t->max)
		t->take(t->ctx, p, n);
}

static void hold(struct taker *t, const char *p, size_t n)
{
	size_t out;

	if (n >= TAIL) {
		give(t, t->held, t->held_n);
		give(t, p, n - TAIL);
		memcpy(t->held, p + n - TAIL, TAIL);
		t->held_n = TAIL;
		return;
	}
	out = t->held_n + n > TAIL ? t->held_n + n - TAIL : 0;
	give(t, t->held, out);
	memmove(t->held, t->held + out, t->held_n - out);
	t->held_n -= out;
	memcpy(t->held + t->held_n, p, n);
	t->held_n += n;
}

static void take_some(void *ctx, const char *p, size_t n)
{
	struct taker *t = ctx;

	t->n += n;
	if (t->hold)
		hold(t, p, n);
	else
		give(t, p, n);
}

static void note_ends(struct taker *t, const char *p, size_t n)
{
	size_t k = n < TAIL ? n : TAIL;

	for (; t->head_n < HEAD && t->head_n < t->came + n; t->head_n++)
		t->head[t->head_n] = p[t->head_n - t->came];
	t->came += n;

	memmove(t->tail, t->tail + k, TAIL - k);
	memcpy(t->tail + TAIL - k, p + n - k, k);
}

/* "text." and CRLF: the final dot without the line end before it (quirk Q25). */
static bool is_glued(const struct taker *t)
{
	static const char stuffed[] = "\n..\r\n";

	return memcmp(t->tail + 2, ".\r\n", 3) == 0 && t->tail[1] != '\n' &&
		memcmp(t->tail, stuffed, TAIL) != 0;
}

/* That dot is none of the message's. */
static void drop_glued(struct taker *t)
{
	memmove(t->held + t->held_n - 3, t->held + t->held_n - 2, 2);
	t->held_n--;
	t->n--;
}

/* Waits for more of a message, with the window kept full. */
static enum status more(struct pop3 *p, struct err *err)
{
	enum status st = ST_OK;

	if (has_room(p)) {
		conn_quiet(p->c, false);
		st = refill(p, err);
		conn_quiet(p->c, true);
	}
	if (st != ST_OK)
		return st;
	conn_expect(p->c, p->wants.expect);
	return conn_fill(p->c, err);
}

/* Nothing comes for a while, though the connection stands. */
static bool is_quiet(struct pop3 *p)
{
	int64_t until = clock_ms() +
		(p->cfg.idle_ms < GLUED_MS ? p->cfg.idle_ms / 2 : GLUED_MS);
	size_t n = 0;

	while (!n && clock_ms() < until && conn_poll(p->c, NULL) == ST_OK) {
		clock_sleep(POLL_MS);
		conn_peek(p->c, &n);
	}
	return !n && !conn_dead(p->c);
}

/* The message breaks off: says where, and why that may be. */
static enum status broken_off(
	struct pop3 *p, uint32_t number, const struct taker *t, struct err *err)
{
	err_note(err, "in message %" PRIu32 ", after %" PRIu64 " byte%s", number, t->n,
		text_s(t->n));
	if (is_glued(t)) {
		p->oddity = POP3_ODD_GLUED;
		err_note(err,
			"the end seems to stand behind the last line's text instead of on a "
			"line of its own (glued-dot = yes in [pop3] would take it so)");
	}
	return err->status;
}

/*
 * A message that begins like a reply is a reply too much (quirks Q33, Q74); when
 * the caller has become cautious over it, it is what it is.
 */
static bool is_reply(const struct pop3 *p, const struct taker *t)
{
	return p->cfg.pipelining != POP3_PIPELINE_NO && t->head_n == HEAD &&
		text_same_n(t->head, "+OK", 3) && strchr(" \r\n", t->head[3]);
}

static enum status read_body(
	struct pop3 *p, uint32_t number, struct taker *t, struct err *err)
{
	struct bare b = { .state = 0 };
	struct dot d = { 0 };
	bool done = false;
	const char *in;
	enum status st;
	size_t n;

	for (;;) {
		in = conn_peek(p->c, &n);
		if (n && t->bare)
			n = bare_feed(&b, in, n, &done, take_some, t);
		else if (n)
			n = dot_feed(&d, in, n, &done, take_some, t);
		if (n)
			note_ends(t, in, n);
		conn_take(p->c, n);
		arrived(p, n);
		if (is_reply(p, t))
			return talk_broken(p, err,
				"begins message %" PRIu32
				" like a reply: its replies are out of "
				"step",
				number);
		if (done)
			return ST_OK;
		if (t->n > t->max && t->n - t->max > DRAIN_MAX)
			return talk_broken(p, err,
				"sends message %" PRIu32 " without an end", number);
		if (t->hold && is_glued(t)) {
			if (is_quiet(p)) {
				p->oddity = POP3_ODD_GLUED;
				return ST_OK;
			}
			conn_peek(p->c, &n);
			if (n)
				continue;
		}
		st = more(p, err);
		if (st != ST_OK)
			return broken_off(p, number, t, err);
	}
}

/* What stands behind a message is the next reply, if one is due. */
static bool in_step(const struct pop3 *p)
{
	static const char *const marks[] = { "+OK", "-ERR", "+ERR" };
	const char *rest;
	size_t i, n, k;

	rest = conn_peek(p->c, &n);
	if (!n || !due(p))
		return !n;
	for (i = 0; i < N_ELEMENTS(marks); i++) {
		k = strlen(marks[i]);
		if (text_same_n(rest, marks[i], n < k ? n : k))
			return true;
	}
	return false;
}

/*
 * Smaller than listed, on a server that knows the sizes. What follows is then
 * perhaps not the next reply but the rest of it, which may well look like one
 * (quirk Q28): only with nothing asked for can that be told.
 */
static bool is_short(const struct pop3 *p, const struct taker *t, uint64_t size)
{
	return p->exact && !p->cfg.any_size && size != UINT64_MAX && t->n < size;
}

/*
 * Larger than listed: one whose end was glued to its text (quirk Q25) swallows the
 * reply behind it and the next message, up to the end of that. The first of a session,
 * too.
 */
static bool is_long(const struct pop3 *p, const struct taker *t, uint64_t size)
{
	return (p->exact || !p->measured) && !p->cfg.any_size && size != UINT64_MAX &&
		t->n > size;
}

static enum status fetch(
	struct pop3 *p, uint32_t number, struct taker *t, struct err *err)
{
	char bytes[16];
	uint64_t size;
	enum status st;

	conn_quiet(p->c, true);
	st = read_body(p, number, t, err);
	conn_quiet(p->c, false);
	if (st != ST_OK)
		return st;
	if (p->oddity == POP3_ODD_GLUED)
		drop_glued(t);
	give(t, t->held, t->held_n);
	p->retrieved = true;
	size = p->wants.p[p->wants.head].size;
	answered(p);
	if (due(p) && is_short(p, t, size)) {
		p->oddity = POP3_ODD_UNSTUFFED;
		conn_kill(p->c);
		return err_set(err, ST_RETRY, EX_PROTOCOL,
			"%s ended message %" PRIu32 " after %" PRIu64
			" bytes and had announced more; it may have been cut at a line with a "
			"single dot",
			p->where, number, t->n);
	}
	if (due(p) && is_long(p, t, size)) {
		p->oddity = POP3_ODD_UNSTUFFED;
		conn_kill(p->c);
		return err_set(err, ST_RETRY, EX_PROTOCOL,
			"%s sent %" PRIu64 " bytes as message %" PRIu32
			" and had announced fewer; the next one may be in it",
			p->where, t->n, number);
	}
	p->measured |= size != UINT64_MAX;
	p->exact |= t->n == size;
	if (!in_step(p)) {
		p->oddity = POP3_ODD_UNSTUFFED;
		return talk_broken(p, err,
			"sent more after the end of message %" PRIu32
			" than was asked for; the message may have been cut at a line with a "
			"single dot",
			number);
	}
	if (t->n > t->max)
		return err_set(err, ST_SKIP, EX_PARTIAL,
			"message %" PRIu32 " of %s is over the limit of %" PRIu64
			" bytes",
			number, text_bytes(bytes, t->n), t->max);
	return ST_OK;
}

enum status pop3_next(
	struct pop3 *p, uint32_t *number, mail_take *take, void *ctx, struct err *err)
{
	struct taker t = { .take = take,
		.ctx = ctx,
		.max = p->cfg.message_max,
		.hold = p->cfg.glued_dot,
		.tail = { '\n', '\n', '\n', '\n', '\n' } };
	char command[32];
	struct reply r;
	enum status st;

	p->oddity = POP3_ODD_NONE;
	if (p->wants.head == p->wants.n) {
		/* Who hangs up now has given all that was asked for. */
		conn_poll(p->c, NULL);
		st = talk_unasked(p, err);
		return st == ST_OK ? ST_END : st;
	}
	*number = p->wants.p[p->wants.head].number;
	snprintf(command, sizeof(command), "RETR %" PRIu32, *number);
	st = refill(p, err);
	if (st == ST_OK)
		st = talk_reply(p, &r, command, p->cfg.reply_ms, err);
	if (st != ST_OK)
		return st;
	t.bare = r.bare;
	if (r.kind == REPLY_OK)
		return fetch(p, *number, &t, err);
	if (r.kind != REPLY_ERR)
		return talk_odd(p, &r, command, err);
	answered(p);
	return talk_said(&r, err, ST_SKIP, EX_TEMPFAIL, "%s refused message %" PRIu32,
		p->where, *number);
}
