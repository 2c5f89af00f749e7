/*
 * append.c: storing messages, safely and fast.
 *
 * The danger (quirk Q75): a server that refuses the arguments of an APPEND
 * whose literal is already on its way reads the message as commands. So a
 * form of APPEND (mailbox, flags, with or without date) goes out with a
 * synchronising literal until it was accepted once, and so does a message larger
 * than all before, or with commands in its text; the others go ahead of their
 * replies, as many as the window holds. Dovecot looks at the arguments before it says
 * "+", so that there the form is proven by that. When something that went ahead is
 * refused, nothing more is sent. What is under way is flight.c's.
 */
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/log.h>
#include <popferry/text.h>

#include "session.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	LITERAL_MINUS_MAX = 4096, /* RFC 7888 */
	/*
	 * Few servers take less than that, and a round trip for each that is larger
	 * than all before adds up; beyond it, no more than what was stored before. But
	 * Dovecot says "+" to any size (quirk Q75b), and takes a literal to its end
	 * before it refuses.
	 */
	LITERAL_PLUS_MAX = 1024 * 1024,
	OFFERS = 3,     /* messages of a session offered again with less arguments */
	DATELESS = 2,   /* taken so in a row: from then on none has a date */
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

static unsigned form_wanted(const struct imap_append *a)
{
	return (unsigned)a->seen | (unsigned)a->answered << 1 |
		(unsigned)a->flagged << 2 | (unsigned)a->draft << 3 |
		(has_date(a) ? FORM_DATE : 0);
}

/* The form in which it goes out, by what the server was seen to take. */
static unsigned form_of(const struct imap *i, const struct imap_append *a)
{
	const struct mailbox *m = (const struct mailbox *)a->mailbox;
	unsigned form = form_wanted(a);

	if (m->bare & 1u << (form & FORM_FLAGS))
		form &= FORM_DATE;
	if (i->dateless >= DATELESS)
		form &= FORM_FLAGS;
	return form;
}

/* What it lacks that it should have had. */
static void note_form(struct imap_append *a, unsigned form)
{
	unsigned lost = form_wanted(a) & ~form;

	a->no_date = lost & FORM_DATE;
	a->no_flags = lost & FORM_FLAGS;
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
			rc = flight_ready(i, err);
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
	size_t most = many ? MULTI_MAX : COMMANDS_MAX;
	enum status rc = flight_ready(i, err);

	while (rc == ST_OK && i->flights_n &&
		(i->flights_n >= most || i->unanswered + bytes > i->cfg.window_bytes))
		rc = flight_reply(i, err);
	return rc;
}

/* One command with non-synchronising literals, for forms that are proven. */
static enum status send_ahead(
	struct imap *i, struct imap_append **a, size_t n, bool many, struct err *err)
{
	uint64_t bytes = 0;
	enum status rc;
	struct flight *f;
	unsigned form;
	size_t k;

	for (k = 0; k < n; k++)
		bytes += a[k]->message->facts.wire;
	rc = imap_compress_if_slow(i, err);
	if (rc == ST_OK)
		rc = make_room(i, bytes, many, err);
	if (rc != ST_OK)
		return rc;
	f = flight_begin(i, a, n, false);
	for (k = 0; k < n && rc == ST_OK; k++) {
		form = form_of(i, a[k]);
		note_form(a[k], form);
		rc = send_arguments(i, k ? 0 : f->tag, a[k], form, false, err);
		if (rc == ST_OK)
			rc = send_body(i, a[k], err);
	}
	return rc == ST_OK ? send_end(i, f, err) : rc;
}

/*
 * One command with a synchronising literal. Its line may go out behind the
 * body of an earlier one; its body only after "+", and "+" only counts when
 * all earlier commands are answered.
 */
static enum status announce(
	struct imap *i, struct imap_append *a, unsigned form, struct err *err)
{
	enum status rc = make_room(i, a->message->facts.wire, false, err);

	if (rc != ST_OK)
		return rc;
	i->announced = a;
	i->announced_by = flight_begin(i, &a, 1, true);
	rc = send_arguments(i, i->announced_by->tag, a, form, true, err);
	if (rc == ST_OK)
		rc = conn_flush(i->conn, err);
	if (rc != ST_OK)
		i->announced = NULL;
	return rc;
}

static enum status send_announced(struct imap *i, bool wait, struct err *err)
{
	struct imap_append *a = i->announced;
	struct flight *f = i->announced_by;
	enum status rc = ST_OK;

	i->announced = NULL;
	if (!a)
		return ST_OK;
	while (rc == ST_OK && a->outcome == IMAP_PENDING && f->waiting)
		rc = flight_reply(i, err);
	if (rc != ST_OK)
		return rc;
	if (a->outcome == IMAP_PENDING) {
		rc = send_body(i, a, err);
		if (rc == ST_OK)
			rc = send_end(i, f, err);
		if (rc == ST_OK && wait)
			rc = flight_until(i, 0, err);
	}
	return rc == ST_OK && i->unsure ? flight_in_step(i, err) : rc;
}

static enum status send_sync(struct imap *i, struct imap_append *a, unsigned form,
	bool wait, struct err *err)
{
	enum status rc = announce(i, a, form, err);

	return rc == ST_OK ? send_announced(i, wait, err) : rc;
}

/* Offers it again in a form with less. */
static enum status offer(
	struct imap *i, struct imap_append *a, unsigned form, struct err *err)
{
	a->outcome = IMAP_PENDING;
	note_form(a, form);
	return send_sync(i, a, form, true, err);
}

/*
 * A message must not fail for its flags or its date (quirks Q77, Q104), and texts
 * differ too much to see which is to blame. So while a form is not proven a
 * refused message is offered again with less, unless the server names
 * another reason. *form is what it was sent with at last.
 */
static enum status send_again(
	struct imap *i, struct imap_append *a, unsigned *form, struct err *err)
{
	const unsigned all = *form, less[] = { all & FORM_FLAGS, all & FORM_DATE, 0 };
	const struct err first = *a->err;
	const enum imap_cause cause = a->cause;
	enum status rc = ST_OK;
	unsigned lost, k;

	for (k = 0; k < N_ELEMENTS(less); k++) {
		lost = all & ~less[k];
		if (less[k] == *form || !(lost & i->blamed) ||
			(k && less[k] == less[0]) ||
			((lost & FORM_DATE) && i->dateless_tries >= OFFERS) ||
			((lost & FORM_FLAGS) && i->bare_tries >= OFFERS))
			continue;
		i->dateless_tries += k == 0;
		i->bare_tries += k == 1;
		*form = less[k];
		rc = offer(i, a, *form, err);
		if (rc != ST_OK || a->outcome != IMAP_REFUSED)
			break;
	}
	if (a->outcome != IMAP_REFUSED)
		return rc;
	*a->err = first;
	a->cause = cause;
	note_form(a, all);
	return rc;
}

/* What the server took at last is what it gets from now on. */
static void learn_form(struct imap *i, const struct imap_append *a, unsigned wanted,
	unsigned form, const char *reply)
{
	i->selected->proven |= 1u << form;
	if (wanted & FORM_DATE)
		i->dateless = form & FORM_DATE ? 0 : i->dateless + 1;
	if ((wanted & ~form) & FORM_FLAGS)
		i->selected->bare |= 1u << (wanted & FORM_FLAGS);
	if (wanted == form)
		return;
	log_warn(i->cfg.net.log, a->no_flags ? "flags-refused" : "date-refused",
		LOG_S("mailbox", a->mailbox->wire), LOG_S("reply", reply));
}

/* It says "+" only to arguments that it takes. */
static bool is_strict(const struct imap *i)
{
	return strstr(i->greeting, "Dovecot") != NULL;
}

/* And what is behind the login is Dovecot, too: nothing else reads our literals. */
static bool is_dovecot(const struct imap *i)
{
	return i->dovecot && is_strict(i);
}

/* Dovecot is known to take all that can be in them. */
static bool is_proven(const struct imap *i, unsigned form)
{
	return i->selected->proven & 1u << form || (is_dovecot(i) && !i->cfg.cautious);
}

static enum status send_alone(struct imap *i, struct imap_append *a, struct err *err)
{
	unsigned wanted = form_of(i, a), form = wanted;
	bool proven = is_proven(i, form);
	bool slow = i->cfg.cautious || i->slow || i->cfg.literal == IMAP_LITERAL_SYNC;
	bool canary = !proven && !slow && i->server.literal_plus && is_strict(i);
	char reply[ERR_REPLY];
	enum status rc;

	note_form(a, form);
	if (i->cfg.by_turns && !i->cfg.cautious && !i->slow)
		return announce(i, a, form, err);
	rc = send_sync(i, a, form, slow || (!proven && !canary), err);
	if (canary && rc == ST_OK && i->flights_n && a->outcome == IMAP_PENDING) {
		flight_canary(i);
		i->selected->proven |= 1u << form;
	}
	snprintf(reply, sizeof(reply), "%s", a->err ? a->err->reply : "");
	if (rc == ST_OK && a->outcome == IMAP_REFUSED && !proven)
		rc = send_again(i, a, &form, err);
	if (a->outcome == IMAP_STORED)
		learn_form(i, a, wanted, form, reply);
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

bool imap_has_to_wait(const struct imap *i, const struct message *m)
{
	if (i->cfg.literal == IMAP_LITERAL_SYNC)
		return true;
	if (i->server.literal_plus)
		return false;
	return !i->server.literal_minus || m->facts.wire > LITERAL_MINUS_MAX;
}

bool imap_takes(const struct imap *i, const struct imap_append *a)
{
	const struct mailbox *m = (const struct mailbox *)a->mailbox;

	return i->selected == m && is_proven(i, form_wanted(a));
}

/* May it go out ahead of the reply to what was sent before? */
static bool may_go_ahead(struct imap *i, const struct imap_append *a)
{
	uint64_t size = a->message->facts.wire;

	if (i->cfg.cautious || i->slow || imap_has_to_wait(i, a->message))
		return false;
	if (!is_proven(i, form_of(i, a)))
		return false;
	if (i->server.literal_plus && size > LITERAL_PLUS_MAX && size > i->largest &&
		!is_dovecot(i))
		return false;
	return !imap_commands_in(i, a->message);
}

static bool too_large(const struct imap *i, struct imap_append *a)
{
	const struct mailbox *m = (const struct mailbox *)a->mailbox;
	uint64_t limit = i->cfg.append_max;

	if (m->append_max && (!limit || m->append_max < limit))
		limit = m->append_max;
	if (!limit || a->message->facts.wire <= limit)
		return false;
	a->outcome = IMAP_REFUSED;
	a->cause = IMAP_FOR_SIZE;
	err_set(flight_err(a), ST_SKIP, EX_DATAERR,
		"message of %" PRIu64 " bytes is over the limit of %s (%" PRIu64
		" bytes)",
		a->message->facts.wire, i->where, limit);
	return true;
}

static enum status go_to(struct imap *i, struct imap_append *a, struct err *err)
{
	enum status rc;

	if (i->selected == (const struct mailbox *)a->mailbox)
		return ST_OK;
	rc = imap_finish(i, err);
	return rc == ST_OK ? imap_select(i, a->mailbox, err) : rc;
}

static enum status append(struct imap *i, struct imap_append *a, struct err *err)
{
	enum status rc;

	if (conn_dead(i->conn))
		return conn_flush(i->conn, err);
	rc = send_announced(i, false, err);
	if (rc != ST_OK || too_large(i, a))
		return rc;
	rc = go_to(i, a, err);
	if (rc == ST_OK && i->unsure)
		rc = flight_in_step(i, err);
	if (rc != ST_OK || too_large(i, a))
		return rc;
	if (i->selected->readonly)
		return err_set(err, ST_DENIED, EX_CANTCREAT,
			"mailbox \"%s\" at %s can only be read; choose another folder, "
			"or ask for the right to write there",
			a->mailbox->wire, i->where);
	if (i->selected->no_insert)
		return err_set(err, ST_DENIED, EX_CANTCREAT,
			"at %s there is no right to put messages into mailbox \"%s\" (ACL); "
			"choose another folder, or ask for the right to insert",
			i->where, a->mailbox->wire);
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
	a->no_date = a->no_flags = a->absent = false;
	rc = append(i, a, &why);
	if (rc != ST_OK && err)
		*err = why;
	return rc;
}

/* Of what was gathered too; then until so many flights are left, or a is answered. */
static enum status settle(struct imap *i, const struct imap_append *a, struct err *err)
{
	struct err why = ERR_INIT;
	enum status rc;

	/* Even with nothing on the wire: what was gathered is lost to this session. */
	if (conn_dead(i->conn))
		i->announced = NULL;
	rc = conn_dead(i->conn) ? conn_flush(i->conn, &why)
				: send_announced(i, false, &why);
	if (rc == ST_OK)
		rc = send_batch(i, &why);
	while (rc == ST_OK && i->flights_n && (!a || a->outcome == IMAP_PENDING))
		rc = flight_reply(i, &why);
	if (rc == ST_OK && i->unsure)
		rc = flight_in_step(i, &why);
	if (rc != ST_OK && err)
		*err = why;
	return rc;
}

enum status imap_flush(struct imap *i, struct err *err)
{
	struct err why = ERR_INIT;
	enum status rc = send_announced(i, false, &why);

	if (rc == ST_OK)
		rc = send_batch(i, &why);
	if (rc == ST_OK)
		rc = conn_flush(i->conn, &why);
	if (rc != ST_OK && err)
		*err = why;
	return rc;
}

enum status imap_await(struct imap *i, const struct imap_append *a, struct err *err)
{
	return settle(i, a, err);
}

enum status imap_finish(struct imap *i, struct err *err)
{
	return settle(i, NULL, err);
}
