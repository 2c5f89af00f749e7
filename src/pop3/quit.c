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
static enum status reset(struct pop3 *p, struct err *err)
{
	bool wished = p->cfg.rset == POP3_RSET_YES;
	enum status st = ST_OK;
	struct reply r;

	if (!p->retrieved || p->marked || p->cfg.rset == POP3_RSET_NO)
		return ST_OK;
	if (!wished && p->dovecot) {
		st = talk(p, &r, err, "LAST");
		wished = st == ST_OK && r.kind == REPLY_ERR;
	}
	if (st == ST_OK && wished)
		st = talk(p, &r, err, "RSET");
	return st;
}

enum status pop3_quit(struct pop3 *p, struct err *err)
{
	struct reply r;
	enum status st;

	if (session_wanting(p)) {
		conn_kill(p->c);
		if (!p->marked)
			return ST_OK;
		return err_set(err, ST_RETRY, EX_TEMPFAIL,
			"%s: left in the middle of fetching, so nothing was deleted",
			p->where);
	}
	st = reset(p, err);
	if (st == ST_OK)
		st = talk(p, &r, err, "QUIT");
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
