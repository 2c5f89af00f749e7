/* quit.c: marking for deletion, and leaving in good order. */
#include "session.h"

enum status pop3_dele(struct pop3 *p, uint32_t number, struct err *err)
{
	struct reply r;
	enum status st;

	if (session_wanting(p))
		return err_set(err, ST_FATAL, EX_SOFTWARE,
			"message %u was to be deleted while others are being fetched",
			number);
	st = talk(p, &r, err, "DELE %u", number);
	if (st != ST_OK)
		return st;
	if (r.kind == REPLY_ERR)
		return talk_said(&r, err, ST_SKIP, EX_PARTIAL,
			"%s does not delete message %u", p->where, number);
	if (r.kind != REPLY_OK)
		return talk_odd(p, &r, "DELE", err);
	p->marked = true;
	return ST_OK;
}

/*
 * Dovecot marks what was fetched as seen when the session ends, however it ends;
 * RSET undoes that (quirk Q42). Where LAST works, RSET instead takes that mark from all
 * mail. Elsewhere RSET can do harm: Gmail would never show the next messages.
 */
bool quit_asks_last(const struct pop3 *p)
{
	return p->cfg.rset == POP3_RSET_AUTO && p->dovecot;
}

static enum status wants_reset(struct pop3 *p, bool *wished, struct err *err)
{
	enum status st;
	struct reply r;

	*wished = p->cfg.rset == POP3_RSET_YES || (quit_asks_last(p) && p->no_last);
	if (!p->retrieved || p->marked)
		*wished = false;
	else if (quit_asks_last(p) && !p->last_said) {
		st = talk(p, &r, err, "LAST");
		*wished = st == ST_OK && r.kind == REPLY_ERR;
		return st;
	}
	return ST_OK;
}

/* The reply is QUIT's; with nothing to be deleted RSET needs not be waited for. */
static enum status say_quit(struct pop3 *p, struct reply *r, struct err *err)
{
	bool reset, together;
	enum status st = wants_reset(p, &reset, err);

	together = reset && p->ahead;
	if (st == ST_OK && together)
		st = talk(p, r, err, "RSET\r\nQUIT");
	else if (st == ST_OK && reset)
		st = talk(p, r, err, "RSET");
	if (st == ST_OK && together)
		return talk_reply(p, r, "QUIT", p->cfg.reply_ms, err);
	return st == ST_OK ? talk(p, r, err, "QUIT") : st;
}

enum status pop3_quit(struct pop3 *p, struct err *err)
{
	struct reply r;
	enum status st;

	if (session_wanting(p) || p->listing) {
		conn_kill(p->c);
		if (!p->marked)
			return ST_OK;
		return err_set(err, ST_RETRY, EX_TEMPFAIL,
			"%s: left in the middle of fetching, so nothing was deleted",
			p->where);
	}
	/* Nothing was asked of it, so nothing depends on how it is taken. */
	if (!p->retrieved && !p->marked) {
		st = talk_settled(p, err);
		if (st == ST_OK)
			conn_part(p->c, "QUIT\r\n");
		return st;
	}
	st = say_quit(p, &r, err);
	if (st != ST_OK)
		return st;
	conn_kill(p->c);
	if (r.kind == REPLY_OK)
		return ST_OK;
	if (r.kind != REPLY_ERR)
		return talk_odd(p, &r, "QUIT", err);
	return talk_said(&r, err, ST_RETRY, EX_TEMPFAIL, "%s refused QUIT%s", p->where,
		p->marked ? "; some messages may not have been deleted" : "");
}
