/*
 * flight.c: APPEND commands that have been sent, and what their replies mean.
 *
 * Replies come in the order of the commands. Each command is a flight; the
 * messages of all flights stand in one ring. A flight is entered before its
 * first byte goes out, so that a reply that comes early finds it.
 */
#include <popferry/log.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "session.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static struct flight *oldest(struct imap *i)
{
	return &i->flights[i->flights_at];
}

static struct flight *newest(struct imap *i)
{
	return &i->flights[(i->flights_at + i->flights_n - 1) % COMMANDS_MAX];
}

static struct imap_append *message_of(const struct imap *i, size_t k)
{
	return i->ring[(i->ring_at + k) % i->ring_cap];
}

struct flight *flight_begin(struct imap *i, struct imap_append **a, size_t n, bool sync)
{
	struct flight *f;
	size_t k;

	i->flights_n++;
	f = newest(i);
	*f = (struct flight){
		.tag = imap_tag(i), .n = n, .sync = sync, .waiting = sync
	};
	for (k = 0; k < n; k++) {
		i->ring[(i->ring_at + i->ring_n++) % i->ring_cap] = a[k];
		f->bytes += a[k]->message->facts.wire;
	}
	i->unanswered += f->bytes;
	return f;
}

void flight_canary(struct imap *i)
{
	newest(i)->canary = true;
}

static void land(struct imap *i)
{
	const struct flight *f = oldest(i);

	i->unanswered -= f->bytes;
	i->ring_at = (i->ring_at + f->n) % i->ring_cap;
	i->ring_n -= f->n;
	i->flights_at = (i->flights_at + 1) % COMMANDS_MAX;
	i->flights_n--;
}

static bool take_number(const char **p, const char *end, uint32_t *out)
{
	uint64_t v = 0;
	const char *s = *p;

	for (; *p < end && **p >= '0' && **p <= '9' && v <= UINT32_MAX; (*p)++)
		v = v * 10 + (uint64_t)(**p - '0');
	*out = (uint32_t)v;
	return *p > s && v && v <= UINT32_MAX;
}

/* A set of exactly n UIDs; uid may be NULL, to see whether it is one. */
static bool take_set(const char *p, const char *end, size_t n, struct imap *i)
{
	uint32_t from, to, t;
	uint64_t count = 0;

	while (take_number(&p, end, &from)) {
		to = from;
		if (p < end && *p == ':') {
			p++;
			if (!take_number(&p, end, &to))
				return false;
		}
		if (to < from) {
			t = to;
			to = from;
			from = t;
		}
		count += (uint64_t)to - from + 1;
		if (count > n)
			return false;
		for (; i && from <= to && from; from++)
			message_of(i, (size_t)(count - 1 - (to - from)))->uid = from;
		if (p == end)
			return count == n;
		if (*p++ != ',')
			return false;
	}
	return false;
}

/* "[APPENDUID 38505 3955:3957]" (RFC 4315); a hint, so that odd ones are ignored. */
static void take_receipts(struct imap *i, const struct reply *r, size_t n)
{
	const char *p, *end;
	uint32_t validity;
	size_t len, k;

	if (!reply_code(r, "APPENDUID", &p, &len))
		return;
	end = p + len;
	if (!take_number(&p, end, &validity) || p == end || *p++ != ' ' ||
		!take_set(p, end, n, NULL))
		return;
	take_set(p, end, n, i);
	for (k = 0; k < n; k++)
		message_of(i, k)->uidvalidity = validity;
}

/* It took the message, but wants us slower (quirk Q88). */
static void slow_down(struct imap *i, const struct reply *r)
{
	int ms = reply_backoff_ms(r);

	if (!i->slow)
		log_warn(i->cfg.net.log, "throttled", LOG_S("server", i->where),
			LOG_B("reply", r->text, r->n));
	i->slow = true;
	i->ease_ms = ms ? ms : -1;
}

static void stored(struct imap *i, const struct reply *r)
{
	const struct flight *f = oldest(i);
	const char *args;
	size_t n, k;

	take_receipts(i, r, f->n);
	for (k = 0; k < f->n; k++) {
		struct imap_append *a = message_of(i, k);
		uint64_t size = a->message->facts.wire;

		a->outcome = IMAP_STORED;
		if (size > i->largest)
			i->largest = size;
	}
	if (reply_code(r, "THROTTLED", &args, &n))
		slow_down(i, r);
	land(i);
}

/* Which arguments may be to blame, where the server does not say what is. */
static unsigned blame(const struct reply *r, enum verdict v)
{
	if (v != NO_THIS)
		return 0;
	if (reply_says(r, "*date*"))
		return FORM_DATE;
	if (reply_says(r, "*flag*") || reply_says(r, "*keyword*"))
		return FORM_FLAGS;
	return FORM_DATE | FORM_FLAGS;
}

struct err *flight_err(struct imap_append *a)
{
	if (!a->err)
		a->err = xmalloc(sizeof(*a->err));
	return a->err;
}

static void refuse(
	struct imap *i, struct imap_append *a, const struct reply *r, enum verdict v)
{
	struct mailbox *m = (struct mailbox *)a->mailbox;
	uint64_t size = a->message->facts.wire, limit;
	char named[80] = "";

	if (v == NO_SIZE && i->limit_low && size > i->limit_low)
		i->cfg.append_max = i->limit_low; /* so it was meant (quirk Q84) */
	limit = m->append_max ? m->append_max : i->cfg.append_max;
	if (v == NO_SIZE && limit)
		snprintf(named, sizeof(named), ", over its limit of %" PRIu64 " bytes,",
			limit);
	else if (v == NO_SIZE)
		snprintf(named, sizeof(named), ", over its limit,");
	a->outcome = IMAP_REFUSED;
	a->cause = v == NO_SIZE  ? IMAP_FOR_SIZE
		: v == NO_POLICY ? IMAP_FOR_POLICY
				 : IMAP_FOR_CONTENT;
	i->blamed = blame(r, v);
	err_set(flight_err(a), ST_SKIP, EX_DATAERR,
		"%s refuses a message of %" PRIu64
		" bytes%s for mailbox \"%s\" (server said: %.*s)",
		i->where, size, named, a->mailbox->wire, (int)r->n, r->text);
	err_reply(a->err, r->text, r->n);
}

/* A NO or BAD that does not blame the message: it stays pending. */
static enum status no_more(
	struct imap *i, const struct reply *r, enum verdict v, struct err *err)
{
	enum status rc = imap_no(i, r, EX_CANTCREAT, err, "%s cannot store in \"%s\"",
		i->where, message_of(i, 0)->mailbox->wire);
	size_t k;

	for (k = 0; v != NO_DOUBT && k < oldest(i)->n; k++)
		message_of(i, k)->absent = true;
	/* The mailbox was there when we began: another look will find or make it. */
	if (v == NO_BOX) {
		rc = err->status = ST_RETRY;
		err->exit = EX_TEMPFAIL;
	}
	conn_kill(i->conn);
	return rc;
}

/* The server may be reading our message as commands: nothing more may be sent. */
static enum status hang_up(struct imap *i, const struct reply *r, struct err *err)
{
	bool no = r->kind == REPLY_NO;

	conn_kill(i->conn);
	err_set(err, ST_RETRY, no ? EX_TEMPFAIL : EX_PROTOCOL,
		"%s refuses a message; to be safe the connection is given up (server "
		"said: %.*s)",
		i->where, (int)r->n, r->text);
	err_reply(err, r->text, r->n);
	return ST_RETRY;
}

static enum status not_stored(struct imap *i, const struct reply *r, struct err *err)
{
	const struct flight f = *oldest(i);
	enum verdict v = reply_verdict(r);

	if (!verdict_of_one(v))
		return no_more(i, r, v, err);
	/* Its form may be to blame: one by one, then, in another session. */
	if (f.canary) {
		i->refused = true;
		return hang_up(i, r, err);
	}
	if (f.n == 1 && (f.sync || r->kind == REPLY_NO)) {
		refuse(i, message_of(i, 0), r, v);
		land(i);
	} else {
		i->refused = true;
	}
	/* All of it was asked for, and taken. */
	if (f.sync && f.sent && r->kind == REPLY_NO)
		return ST_OK;
	/* With nothing else under way it can be asked whether we are in step. */
	if (f.sync && (f.waiting || (f.sent && !i->flights_n))) {
		i->unsure = true;
		return ST_OK;
	}
	return hang_up(i, r, err);
}

enum status flight_reply(struct imap *i, struct err *err)
{
	struct flight *f;
	struct reply r;
	enum status rc;

	rc = reply_read(i, &r, NULL, NULL, err);
	if (rc != ST_OK)
		return rc;
	f = oldest(i);
	if (r.kind == REPLY_BYE)
		return imap_bye(i, &r, err);
	if (r.kind == REPLY_GO && i->flights_n == 1 && f->waiting) {
		f->waiting = false;
		return ST_OK;
	}
	if (r.tag == 0 && r.kind == REPLY_BAD && i->flights_n == 1 && f->waiting) {
		/* Exchange answers a line it dislikes so (quirk Q76). */
		refuse(i, message_of(i, 0), &r, reply_verdict(&r));
		land(i);
		return imap_junk(i, &r, err);
	}
	if (r.tag == 0 && r.kind != REPLY_JUNK && r.kind != REPLY_GO &&
		r.kind != REPLY_BAD)
		return ST_OK;
	if (r.tag != f->tag || !i->flights_n) {
		i->refused |= r.kind == REPLY_BAD;
		return imap_junk(i, &r, err);
	}
	if (r.kind != REPLY_OK)
		return not_stored(i, &r, err);
	if (!f->sent)
		return imap_junk(i, &r, err);
	stored(i, &r);
	return ST_OK;
}

enum status flight_ready(struct imap *i, struct err *err)
{
	enum status rc = ST_OK;
	const char *p;
	size_t n;

	if (i->unpolled >= PIECE) {
		i->unpolled = 0;
		rc = conn_poll(i->conn, err);
	}
	while (rc == ST_OK && i->flights_n) {
		p = conn_peek(i->conn, &n);
		if (!n || !memchr(p, '\n', n))
			break;
		rc = flight_reply(i, err);
	}
	return rc;
}

enum status flight_until(struct imap *i, size_t flights, struct err *err)
{
	enum status rc = ST_OK;

	while (rc == ST_OK && i->flights_n > flights)
		rc = flight_reply(i, err);
	return rc;
}

enum status flight_in_step(struct imap *i, struct err *err)
{
	int tag = imap_tag(i);
	enum status rc = conn_sendf(i->conn, err, "%d NOOP\r\n", tag);
	struct reply r;

	i->unsure = false;
	for (;;) {
		if (rc == ST_OK)
			rc = reply_read(i, &r, NULL, NULL, err);
		if (rc != ST_OK)
			return rc;
		if (r.kind == REPLY_BYE)
			return imap_bye(i, &r, err);
		if (r.tag == tag && r.kind == REPLY_OK)
			return ST_OK;
		if (r.tag || r.kind <= REPLY_GO || r.kind == REPLY_BAD)
			if (r.kind != REPLY_DATA)
				return imap_junk(i, &r, err);
	}
}
