/* list.c: LIST and UIDL, in one round trip where that is possible. */
#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "session.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Both answers together; five million rows of a hundred bytes. */
enum { LISTING_BYTES = 512 * 1024 * 1024 };

/* The rows of a multi-line answer; uidls as in rows_take(). */
static enum status read_rows(struct pop3 *p, const char *command, struct rows *rows,
	struct buf *uidls, struct err *err)
{
	const char *line;
	enum status st;
	size_t count, n;

	for (count = 0;; count++) {
		st = conn_line(p->c, POP3_ROW_MAX, &line, &n, err);
		if (st != ST_OK)
			break;
		if (n == 1 && line[0] == '.')
			return ST_OK;
		if (count == POP3_LIST_MAX) {
			conn_kill(p->c);
			return err_set(err, ST_DENIED, EX_PROTOCOL,
				"%s lists more than %d messages", p->where,
				POP3_LIST_MAX);
		}
		rows_take(rows, uidls, line, n);
	}
	if (st == ST_DENIED && !conn_dead(p->c))
		return talk_broken(p, err, "sent a row over %d bytes after %s",
			POP3_ROW_MAX, command);
	err_note(err, "in the answer to %s, after %zu row%s", command, count,
		text_s(count));
	return st;
}

static enum status read_list(
	struct pop3 *p, const struct reply *r, struct rows *rows, struct err *err)
{
	if (r->kind == REPLY_OK)
		return read_rows(p, "LIST", rows, NULL, err);
	if (r->kind != REPLY_ERR)
		return talk_odd(p, r, "LIST", err);
	talk_said(r, err, ST_RETRY, EX_TEMPFAIL,
		"%s does not list the maildrop; it may be busy or unwell", p->where);
	conn_kill(p->c);
	return ST_RETRY;
}

static enum status read_uidl(struct pop3 *p, const struct reply *r, struct rows *rows,
	struct buf *uidls, struct pop3_listing *out, struct err *err)
{
	out->uidl = r->kind == REPLY_OK;
	if (out->uidl)
		return read_rows(p, "UIDL", rows, uidls, err);
	if (r->kind != REPLY_ERR)
		return talk_odd(p, r, "UIDL", err);
	out->uidl_temporary = p->server.uidl;
	return ST_OK;
}

const char *list_commands(const struct pop3 *p)
{
	return p->cfg.stat ? "STAT\r\nLIST\r\nUIDL\r\n" : "LIST\r\nUIDL\r\n";
}

/* Two numbers and perhaps more. What else it says is kept, and means nothing. */
static void take_stat(struct pop3 *p, const struct reply *r, struct pop3_listing *out)
{
	uint64_t count, octets;

	p->server.stat = NULL;
	if (r->kind != REPLY_OK)
		return;
	text_clean(p->stat, sizeof(p->stat), r->words, r->n);
	p->server.stat = p->stat;
	if (p->stat[0] < '0' || p->stat[0] > '9' ||
		sscanf(p->stat, "%" SCNu64 " %" SCNu64, &count, &octets) != 2)
		return;
	out->stat_count = count;
	out->stat_octets = octets;
}

/*
 * Sends LIST, and UIDL behind it when commands may be sent ahead; STAT before them
 * where it is wanted.
 */
static enum status ask(
	struct pop3 *p, struct reply *r, struct pop3_listing *out, struct err *err)
{
	bool ahead = p->ahead || p->listing;
	enum status st = ST_OK;

	if (!p->listing && ahead) {
		st = talk_settled(p, err);
		if (st == ST_OK)
			st = conn_sendf(p->c, err, "%s", list_commands(p));
	}
	p->listing = false; /* since the login */
	if (st == ST_OK && p->cfg.stat) {
		st = ahead ? talk_reply(p, r, "STAT", p->cfg.reply_ms, err)
			   : talk(p, r, err, "STAT");
		if (st == ST_OK)
			take_stat(p, r, out);
	}
	if (st != ST_OK)
		return st;
	return ahead ? talk_reply(p, r, "LIST", p->cfg.reply_ms, err)
		     : talk(p, r, err, "LIST");
}

static enum status read_both(struct pop3 *p, struct rows *rows, struct buf *uidls,
	struct pop3_listing *out, struct err *err)
{
	bool ahead = p->ahead || p->listing;
	struct reply r;
	enum status st;

	st = ask(p, &r, out, err);
	if (st == ST_OK)
		st = read_list(p, &r, rows, err);
	if (st != ST_OK)
		return st;
	rows_listed(rows);
	if (ahead)
		st = talk_reply(p, &r, "UIDL", p->cfg.reply_ms, err);
	else
		st = talk(p, &r, err, "UIDL");
	return st == ST_OK ? read_uidl(p, &r, rows, uidls, out, err) : st;
}

void pop3_forget(struct pop3 *p)
{
	free(p->items);
	free(p->uidls);
	p->items = NULL;
	p->uidls = NULL;
}

enum status pop3_list(struct pop3 *p, struct pop3_listing *out, struct err *err)
{
	struct rows rows = { .n = 0 };
	struct buf uidls = BUF_INIT(LISTING_BYTES);
	struct pop3_listing l = { .stat_count = UINT64_MAX, .stat_octets = UINT64_MAX };
	enum status st;

	if (session_wanting(p))
		return err_set(err, ST_FATAL, EX_SOFTWARE,
			"the maildrop was to be listed while messages are being fetched");
	conn_budget(p->c, LISTING_BYTES);
	/* Where a UIDL is, is never 0. */
	buf_addc(&uidls, '\0');
	st = read_both(p, &rows, &uidls, &l, err);
	conn_budget(p->c, UINT64_MAX);
	if (st != ST_OK)
		goto out;
	pop3_forget(p);
	p->uidls = buf_take(&uidls);
	p->items = rows_join(&rows, &l);
	l.uidls = p->uidls;
	l.repeated = repeat_count(p->items, l.n, p->uidls);
	*out = l;
	conn_ignore_stop(p->c);
out:
	rows_free(&rows);
	buf_free(&uidls);
	return st;
}
