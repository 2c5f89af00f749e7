/*
 * append.c: storing messages, safely and fast.
 *
 * The danger (quirk Q75): a server that refuses the arguments of an APPEND
 * whose literal is already on its way reads the message as commands. So a
 * form of APPEND (mailbox, flags, with or without date) goes out with a
 * synchronising literal until it was accepted once; after that as many as the
 * window holds go ahead of their replies. When something that went ahead is
 * refused, nothing more is sent.
 *
 * Replies come in the order of the commands. Each command is a flight; the
 * messages of all flights stand in one ring. A flight is entered before its
 * first byte goes out, so that a reply that comes early finds it.
 */
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/log.h>
#include <popferry/text.h>

#include "session.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	LITERAL_MINUS_MAX = 4096, /* RFC 7888 */
	BATCHES_MAX = 2,          /* MULTIAPPEND commands unanswered */
	FORM_FLAGS = 0xf,         /* of a form, the rest is FORM_DATE */
	FORM_DATE = 0x10,
	ZONE_STEP = 15, /* minutes */
	ZONE_WEST = -12 * 60,
	ZONE_EAST = 14 * 60,
};

/* ---- arguments ---- */

static const char *const flag_names[] = { "\\Seen", "\\Answered", "\\Flagged",
	"\\Draft" };

static bool has_date(const struct imap_append *a)
{
	return a->date.known && date_sane(&a->date, clock_utc());
}

static unsigned form_of(const struct imap_append *a, const struct mailbox *m)
{
	unsigned form = (unsigned)a->seen | (unsigned)a->answered << 1 |
		(unsigned)a->flagged << 2 | (unsigned)a->draft << 3;

	form |= has_date(a) ? FORM_DATE : 0;
	return m->bare & 1u << form ? form & FORM_DATE : form;
}

/* " (FLAGS) "DATE" {SIZE+}" */
static void add_arguments(
	struct buf *b, const struct imap_append *a, unsigned form, bool sync)
{
	struct when date = a->date;
	const char *gap = "";
	char text[32];
	unsigned k;

	buf_adds(b, " (");
	for (k = 0; k < N_ELEMENTS(flag_names); k++) {
		if (!(form & 1u << k))
			continue;
		buf_addf(b, "%s%s", gap, flag_names[k]);
		gap = " ";
	}
	buf_adds(b, ")");
	if (form & FORM_DATE) {
		/* The same moment in a zone that every server knows. */
		if (date.zone < ZONE_WEST || date.zone > ZONE_EAST ||
			date.zone % ZONE_STEP)
			date.zone = 0;
		buf_addf(b, " \"%s\"", date_imap(text, &date));
	}
	buf_addf(b, " {%" PRIu64 "%s}\r\n", a->message->facts.wire, sync ? "" : "+");
}

static enum status send_arguments(struct imap *i, int tag, const struct imap_append *a,
	unsigned form, bool sync, struct err *err)
{
	struct buf b = BUF_INIT(4 * IMAP_NAME_MAX);
	enum status rc;

	if (tag) {
		buf_addf(&b, "%d APPEND ", tag);
		if (!imap_quote(&b, a->mailbox->wire)) {
			buf_free(&b);
			return err_set(err, ST_FATAL, EX_SOFTWARE,
				"mailbox name \"%s\" cannot be sent", a->mailbox->wire);
		}
	}
	add_arguments(&b, a, form, sync);
	rc = conn_send(i->conn, b.p, b.n, err);
	buf_free(&b);
	return rc;
}

/* ---- replies ---- */

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

static struct flight *fly(struct imap *i, struct imap_append **a, size_t n, bool sync)
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

static void stored(struct imap *i, const struct reply *r)
{
	const struct flight *f = oldest(i);
	const char *args;
	size_t n, k;

	take_receipts(i, r, f->n);
	for (k = 0; k < f->n; k++)
		message_of(i, k)->outcome = IMAP_STORED;
	if (!i->slow && reply_code(r, "THROTTLED", &args, &n)) {
		log_warn(i->cfg.net.log, "throttled", LOG_S("server", i->where),
			LOG_B("reply", r->text, r->n));
		i->slow = true;
	}
	land(i);
}

static void refuse(struct imap *i, struct imap_append *a, const struct reply *r)
{
	a->outcome = IMAP_REFUSED;
	err_set(&a->err, ST_SKIP, EX_DATAERR,
		"%s refuses a message of %" PRIu64
		" bytes for mailbox \"%s\" (server said: %.*s)",
		i->where, a->message->facts.wire, a->mailbox->wire, (int)r->n, r->text);
	err_reply(&a->err, r->text, r->n);
}

/* A NO or BAD that does not blame the message: it stays pending. */
static enum status no_more(struct imap *i, const struct reply *r, struct err *err)
{
	enum status rc = imap_no(i, r, EX_CANTCREAT, err, "%s cannot store in \"%s\"",
		i->where, message_of(i, 0)->mailbox->wire);

	/* The mailbox was there when we began: another look will find or make it. */
	if (reply_verdict(r, true) == NO_BOX) {
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
	struct imap_append *a = message_of(i, 0);

	if (reply_verdict(r, true) != NO_THIS)
		return no_more(i, r, err);
	if (f.n == 1 && (f.sync || r->kind == REPLY_NO)) {
		refuse(i, a, r);
		land(i);
	} else {
		i->refused = true;
	}
	/* In step: nothing was sent but a line, or all of it was asked for and taken.
	 */
	if (f.sync && (f.waiting || (f.sent && r->kind == REPLY_NO)))
		return ST_OK;
	return hang_up(i, r, err);
}

/* Takes one response while commands are unanswered. err is never NULL here. */
static enum status take_reply(struct imap *i, struct err *err)
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
		refuse(i, message_of(i, 0), &r);
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

/* What has come in already, without waiting. */
static enum status take_ready(struct imap *i, struct err *err)
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
		rc = take_reply(i, err);
	}
	return rc;
}

static enum status take_until(struct imap *i, size_t flights, struct err *err)
{
	enum status rc = ST_OK;

	while (rc == ST_OK && i->flights_n > flights)
		rc = take_reply(i, err);
	return rc;
}

/* ---- sending ---- */

/* The message text. A body that cannot be read ends the connection in its middle,
 * so that the server throws the part away. */
static enum status send_body(
	struct imap *i, const struct imap_append *a, struct err *err)
{
	uint64_t left = a->message->facts.wire;
	enum status rc;
	struct wire w;
	const char *p;
	size_t n;

	wire_begin(&w, a->message);
	for (;;) {
		rc = wire_next(&w, i->piece, PIECE, &p, &n, err);
		if (rc != ST_OK || !n || n > left)
			break;
		left -= n;
		conn_quiet(i->conn, true);
		rc = conn_send(i->conn, p, n, err);
		conn_quiet(i->conn, false);
		i->unpolled += n;
		if (rc == ST_OK)
			rc = take_ready(i, err);
		if (rc != ST_OK)
			return rc;
	}
	if (rc == ST_OK && !n && !left)
		return ST_OK;
	conn_kill(i->conn);
	if (rc != ST_OK)
		return rc;
	return err_set(err, ST_FATAL, EX_SOFTWARE,
		"a message is not as long as it was; its upload is given up");
}

static enum status send_end(struct imap *i, struct flight *f, struct err *err)
{
	f->sent = true;
	return conn_send(i->conn, "\r\n", 2, err);
}

static enum status make_room(struct imap *i, uint64_t bytes, bool many, struct err *err)
{
	size_t most = many ? BATCHES_MAX : COMMANDS_MAX;
	enum status rc = take_ready(i, err);

	while (rc == ST_OK && i->flights_n &&
		(i->flights_n >= most ||
			(!many && i->unanswered + bytes > i->cfg.window_bytes)))
		rc = take_reply(i, err);
	return rc;
}

/* One command with non-synchronising literals, for forms that are proven. */
static enum status send_ahead(
	struct imap *i, struct imap_append **a, size_t n, bool many, struct err *err)
{
	const struct mailbox *m = i->selected;
	uint64_t bytes = 0;
	enum status rc;
	struct flight *f;
	size_t k;

	for (k = 0; k < n; k++)
		bytes += a[k]->message->facts.wire;
	rc = make_room(i, bytes, many, err);
	if (rc != ST_OK)
		return rc;
	f = fly(i, a, n, false);
	for (k = 0; k < n && rc == ST_OK; k++) {
		rc = send_arguments(
			i, k ? 0 : f->tag, a[k], form_of(a[k], m), false, err);
		if (rc == ST_OK)
			rc = send_body(i, a[k], err);
	}
	return rc == ST_OK ? send_end(i, f, err) : rc;
}

/* After a refusal in place of "+": does the server understand us still (Q76)? */
static enum status see_in_step(struct imap *i, struct err *err)
{
	int tag = imap_tag(i);
	enum status rc = conn_sendf(i->conn, err, "%d NOOP\r\n", tag);
	struct reply r;

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

/*
 * One command with a synchronising literal. Its line may go out behind the
 * body of an earlier one; its body only after "+", and "+" only counts when
 * all earlier commands are answered.
 */
static enum status send_sync(struct imap *i, struct imap_append *a, unsigned form,
	bool wait, struct err *err)
{
	struct flight *f = NULL;
	enum status rc;

	rc = make_room(i, a->message->facts.wire, false, err);
	if (rc != ST_OK)
		return rc;
	f = fly(i, &a, 1, true);
	rc = send_arguments(i, f->tag, a, form, true, err);
	if (rc == ST_OK)
		rc = conn_flush(i->conn, err);
	while (rc == ST_OK && a->outcome == IMAP_PENDING && f->waiting)
		rc = take_reply(i, err);
	if (rc != ST_OK)
		return rc;
	if (a->outcome != IMAP_PENDING)
		return see_in_step(i, err);
	rc = send_body(i, a, err);
	if (rc == ST_OK)
		rc = send_end(i, f, err);
	if (rc == ST_OK && wait)
		rc = take_until(i, 0, err);
	return rc;
}

/*
 * A message never fails for its flags (quirk Q104). Texts differ too much to see
 * whether they are to blame: while a form with flags is not proven, a refused
 * message is offered once more without.
 */
static enum status send_alone(struct imap *i, struct imap_append *a, struct err *err)
{
	struct mailbox *m = i->selected;
	unsigned form = form_of(a, m);
	bool proven = m->proven & 1u << form;
	bool wait = !proven || i->cfg.cautious || i->slow ||
		i->cfg.literal == IMAP_LITERAL_SYNC;
	enum status rc = send_sync(i, a, form, wait, err);

	if (rc == ST_OK && a->outcome == IMAP_REFUSED && form & FORM_FLAGS && !proven) {
		a->outcome = IMAP_PENDING;
		rc = send_sync(i, a, form & FORM_DATE, true, err);
		if (a->outcome == IMAP_STORED) {
			log_warn(i->cfg.net.log, "flags-refused",
				LOG_S("mailbox", m->pub.wire),
				LOG_S("reply", a->err.reply));
			m->bare |= 1u << form;
			form &= FORM_DATE;
		}
	}
	if (a->outcome == IMAP_STORED)
		m->proven |= 1u << form;
	return rc;
}

static enum status send_batch(struct imap *i, struct err *err)
{
	size_t n = i->batch_n;

	i->batch_n = 0;
	i->batch_bytes = 0;
	return n ? send_ahead(i, i->batch, n, true, err) : ST_OK;
}

/* Gathers for a MULTIAPPEND, which goes out when it is full. */
static enum status gather(struct imap *i, struct imap_append *a, struct err *err)
{
	uint64_t n = a->message->facts.wire;
	enum status rc = ST_OK;

	if (i->batch_n && i->batch_bytes + n > i->cfg.batch_bytes)
		rc = send_batch(i, err);
	if (rc != ST_OK)
		return rc;
	i->batch[i->batch_n++] = a;
	i->batch_bytes += n;
	if (i->batch_n == i->cfg.batch_count || i->batch_bytes >= i->cfg.batch_bytes)
		rc = send_batch(i, err);
	return rc;
}

/* May it go out ahead of the reply to what was sent before? */
static bool may_go_ahead(const struct imap *i, const struct imap_append *a)
{
	if (i->cfg.cautious || i->slow || i->cfg.literal == IMAP_LITERAL_SYNC)
		return false;
	if (!(i->selected->proven & 1u << form_of(a, i->selected)))
		return false;
	return i->server.literal_plus ||
		(i->server.literal_minus &&
			a->message->facts.wire <= LITERAL_MINUS_MAX);
}

static bool too_large(const struct imap *i, struct imap_append *a)
{
	if (!i->cfg.append_max || a->message->facts.wire <= i->cfg.append_max)
		return false;
	a->outcome = IMAP_REFUSED;
	err_set(&a->err, ST_SKIP, EX_DATAERR,
		"message of %" PRIu64 " bytes is over the limit of %s (%" PRIu64
		" bytes)",
		a->message->facts.wire, i->where, i->cfg.append_max);
	return true;
}

static enum status append(struct imap *i, struct imap_append *a, struct err *err)
{
	enum status rc = ST_OK;

	if (conn_dead(i->conn))
		return conn_flush(i->conn, err);
	if (i->selected != (const struct mailbox *)a->mailbox) {
		rc = imap_finish(i, err);
		if (rc == ST_OK)
			rc = imap_select(i, a->mailbox, err);
	}
	if (rc != ST_OK)
		return rc;
	if (i->selected->readonly)
		return err_set(err, ST_DENIED, EX_CANTCREAT,
			"mailbox \"%s\" at %s can only be read", a->mailbox->wire,
			i->where);
	if (may_go_ahead(i, a))
		return i->cfg.multiappend && i->server.multiappend
			? gather(i, a, err)
			: send_ahead(i, &a, 1, false, err);
	rc = send_batch(i, err);
	return rc == ST_OK ? send_alone(i, a, err) : rc;
}

enum status imap_append(struct imap *i, struct imap_append *a, struct err *err)
{
	struct err why = ERR_INIT;
	enum status rc;

	a->outcome = IMAP_PENDING;
	a->uidvalidity = a->uid = 0;
	if (too_large(i, a))
		return ST_OK;
	rc = append(i, a, &why);
	if (rc != ST_OK && err)
		*err = why;
	return rc;
}

enum status imap_finish(struct imap *i, struct err *err)
{
	struct err why = ERR_INIT;
	enum status rc;

	/* Even with nothing on the wire: what was gathered is lost to this session. */
	rc = conn_dead(i->conn) ? conn_flush(i->conn, &why) : send_batch(i, &why);
	if (rc == ST_OK)
		rc = take_until(i, 0, &why);
	if (rc != ST_OK && err)
		*err = why;
	return rc;
}
