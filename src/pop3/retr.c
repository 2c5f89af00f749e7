/*
 * retr.c: messages, with as many RETRs on the wire as the window allows.
 *
 * The window is filled again when half of it is empty, so that the server
 * never waits for us and many commands travel in one segment. It is
 * filled only while we would wait anyway; sending then happens in conn_fill(),
 * which receives meanwhile, so the two sides cannot wait for each other.
 */
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
};
/* How far beyond the limit a message is read to its end, to be skipped. */
#define DRAIN_MAX ((uint64_t)4 << 30)

/* ---- the window ---- */

void pop3_want(struct pop3 *p, uint32_t number, uint64_t size)
{
	struct wants *q = &p->wants;

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
	if (size == UINT64_MAX)
		size = UNKNOWN_SIZE;
	if (size > p->cfg.window_bytes)
		size = p->cfg.window_bytes;
	q->p[q->n++] = (struct want){ number, size };
}

static size_t due(const struct pop3 *p)
{
	return p->wants.sent - p->wants.head;
}

static bool has_room(const struct pop3 *p)
{
	const struct wants *q = &p->wants;

	if (q->sent == q->n)
		return false;
	if (!p->ahead)
		return due(p) == 0;
	return due(p) <= p->cfg.window_count / 2 &&
		q->expect <= p->cfg.window_bytes / 2;
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
		(!due(p) || q->expect < p->cfg.window_bytes) &&
		conn_unsent(p->c) < UNSENT_MAX) {
		st = conn_sendf(
			p->c, err, "RETR %" PRIu32 "\r\n", q->p[q->sent].number);
		q->expect += q->p[q->sent++].expect;
	}
	return st;
}

/* n bytes of the message at the head have come. */
static void arrived(struct pop3 *p, uint64_t n)
{
	struct wants *q = &p->wants;
	struct want *w = &q->p[q->head];

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

struct taker {
	mail_take *take;
	void *ctx;
	uint64_t n, max;
};

static void take_some(void *ctx, const char *p, size_t n)
{
	struct taker *t = ctx;

	t->n += n;
	if (t->n <= t->max)
		t->take(t->ctx, p, n);
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
	return st == ST_OK ? conn_fill(p->c, err) : st;
}

static enum status read_body(
	struct pop3 *p, uint32_t number, struct taker *t, struct err *err)
{
	struct dot d = { 0 };
	bool done = false;
	const char *in;
	enum status st;
	size_t n;

	for (;;) {
		in = conn_peek(p->c, &n);
		n = n ? dot_feed(&d, in, n, &done, take_some, t) : 0;
		conn_take(p->c, n);
		arrived(p, n);
		if (done)
			return ST_OK;
		if (t->n > t->max && t->n - t->max > DRAIN_MAX)
			return talk_broken(p, err,
				"sends message %" PRIu32 " without an end", number);
		st = more(p, err);
		if (st == ST_OK)
			continue;
		err_note(err, "in message %" PRIu32 ", after %" PRIu64 " bytes", number,
			t->n);
		return st;
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

static enum status fetch(
	struct pop3 *p, uint32_t number, struct taker *t, struct err *err)
{
	char size[16];
	enum status st;

	conn_quiet(p->c, true);
	st = read_body(p, number, t, err);
	conn_quiet(p->c, false);
	if (st != ST_OK)
		return st;
	answered(p);
	if (!in_step(p))
		return talk_broken(p, err,
			"sent more after the end of message %" PRIu32
			" than was asked for; the message may have been cut at a line with a "
			"single dot",
			number);
	if (t->n > t->max)
		return err_set(err, ST_SKIP, EX_PARTIAL,
			"message %" PRIu32 " of %s is over the limit of %" PRIu64
			" bytes",
			number, text_bytes(size, t->n), t->max);
	return ST_OK;
}

enum status pop3_next(
	struct pop3 *p, uint32_t *number, mail_take *take, void *ctx, struct err *err)
{
	struct taker t = { take, ctx, 0, p->cfg.message_max };
	char command[32];
	struct reply r;
	enum status st;

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
	if (r.kind == REPLY_OK)
		return fetch(p, *number, &t, err);
	if (r.kind != REPLY_ERR)
		return talk_odd(p, &r, command, err);
	answered(p);
	return talk_said(&r, err, ST_SKIP, EX_PARTIAL, "%s refused message %" PRIu32,
		p->where, *number);
}
