/*
 * login.c: who we are, and where our mailboxes begin.
 *
 * AUTHENTICATE PLAIN and ID are ours: libetpan knows no initial response, and
 * its ID reader wants answers to be exact. LOGIN is libetpan's unless a name or
 * password needs a literal, which it cannot send.
 */
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/log.h>
#include <popferry/text.h>

#include "session.h"

#include <stdlib.h>
#include <string.h>

enum { CREDENTIAL_MAX = 64 * 1024 };

static void secret_free(struct buf *b)
{
	if (b->p)
		explicit_bzero(b->p, b->cap);
	buf_free(b);
}

/* ---- logging in ---- */

static enum status send_secret(struct imap *i, const void *p, size_t n, struct err *err)
{
	enum status rc;

	conn_secret(i->conn, true);
	rc = conn_send(i->conn, p, n, err);
	conn_secret(i->conn, false);
	return rc;
}

static enum status end_line(struct imap *i, struct err *err)
{
	enum status rc = conn_send(i->conn, "\r\n", 2, err);

	return rc == ST_OK ? conn_flush(i->conn, err) : rc;
}

static enum status send_plain(struct imap *i, const struct buf *b, struct err *err)
{
	enum status rc = send_secret(i, b->p, b->n, err);

	return rc == ST_OK ? end_line(i, err) : rc;
}

static enum status make_plain(struct imap *i, struct buf *b, struct err *err)
{
	if (sasl_plain(i->cfg.user, i->cfg.password, b))
		return ST_OK;
	return err_set(err, ST_DENIED, EX_USAGE,
		"user name or password for %s cannot be sent", i->where);
}

/* A server may ask for the response in spite of an initial one; once. */
static enum status authenticate_plain(struct imap *i, struct reply *r, struct err *err)
{
	struct buf b = BUF_INIT(CREDENTIAL_MAX);
	int tag = imap_tag(i);
	enum status rc = make_plain(i, &b, err);

	if (rc != ST_OK)
		goto out;
	rc = conn_sendf(i->conn, err, "%d AUTHENTICATE PLAIN%s", tag,
		i->server.sasl_ir ? " " : "");
	if (rc == ST_OK)
		rc = i->server.sasl_ir ? send_plain(i, &b, err) : end_line(i, err);
	if (rc == ST_OK)
		rc = reply_wait_go(i, tag, r, capability_line, i, err);
	if (rc == ST_OK && r->kind == REPLY_GO) {
		rc = send_plain(i, &b, err);
		if (rc == ST_OK)
			rc = reply_wait(i, tag, r, capability_line, i, err);
	}
	if (rc == ST_OK && r->kind == REPLY_OK)
		capability_coded(i, r);
out:
	secret_free(&b);
	return rc;
}

static enum status send_literal(struct imap *i, int tag, const char *s,
	const char *more, struct reply *r, struct err *err)
{
	enum status rc = conn_sendf(i->conn, err, "%s{%zu}", more, strlen(s));

	if (rc == ST_OK)
		rc = end_line(i, err);
	if (rc == ST_OK)
		rc = reply_wait_go(i, tag, r, NULL, NULL, err);
	if (rc == ST_OK && r->kind == REPLY_GO)
		rc = send_secret(i, s, strlen(s), err);
	return rc;
}

static enum status login_literals(struct imap *i, struct reply *r, struct err *err)
{
	int tag = imap_tag(i);
	enum status rc = conn_sendf(i->conn, err, "%d LOGIN ", tag);

	if (rc == ST_OK)
		rc = send_literal(i, tag, i->cfg.user, "", r, err);
	if (rc != ST_OK || r->kind != REPLY_GO)
		return rc;
	rc = send_literal(i, tag, i->cfg.password, " ", r, err);
	if (rc != ST_OK || r->kind != REPLY_GO)
		return rc;
	rc = end_line(i, err);
	if (rc == ST_OK)
		rc = reply_wait(i, tag, r, capability_line, i, err);
	if (rc == ST_OK && r->kind == REPLY_OK)
		capability_coded(i, r);
	return rc;
}

static bool is_ascii(const char *s)
{
	for (; *s; s++)
		if (*s < ' ' || *s > '~')
			return false;
	return true;
}

static enum status login_plainly(struct imap *i, struct reply *r, struct err *err)
{
	enum status rc;

	if (!is_ascii(i->cfg.user) || !is_ascii(i->cfg.password) || !*i->cfg.user ||
		!*i->cfg.password)
		return login_literals(i, r, err);
	conn_secret(i->conn, true);
	etpan_begin(i, MIB);
	rc = etpan_end(
		i, mailimap_login(i->etpan, i->cfg.user, i->cfg.password), r, err);
	conn_secret(i->conn, false);
	if (rc == ST_OK)
		capability_heard(i);
	/* Refused is an answer, as it is from our own commands. */
	return rc == ST_SKIP ? ST_OK : rc;
}

static enum status refused(struct imap *i, const struct reply *r, struct err *err)
{
	enum status rc = imap_no(i, r, EX_NOPERM, err, "login refused for %s at %s",
		i->cfg.user, i->where);
	struct err told;

	if (rc != ST_DENIED || !err)
		return rc;
	told = *err;
	err_set(err, rc, told.exit,
		"%s; check the password; providers often want an app password, or IMAP "
		"enabled in the settings",
		told.text);
	memcpy(err->reply, told.reply, sizeof(err->reply));
	return rc;
}

static bool by_plain(const struct imap *i)
{
	return i->cfg.auth == IMAP_AUTH_PLAIN ||
		(i->cfg.auth == IMAP_AUTH_AUTO && i->server.sasl_plain);
}

static enum status log_in(struct imap *i, struct err *err)
{
	const struct imap_server *s = &i->server;
	struct reply r = { 0 };
	enum status rc;

	if (by_plain(i)) {
		rc = authenticate_plain(i, &r, err);
		/* BAD: the command itself is unknown. */
		if (rc != ST_OK || r.kind == REPLY_OK)
			return rc;
		if (r.kind == REPLY_NO || i->cfg.auth == IMAP_AUTH_PLAIN)
			return refused(i, &r, err);
	}
	if (s->logindisabled)
		return err_set(err, ST_DENIED, EX_UNAVAILABLE,
			"%s offers no way to log in that we know%s", i->where,
			conn_tls(i->conn)
				? ""
				: "; it may do so over TLS (port 993, or STARTTLS)");
	rc = login_plainly(i, &r, err);
	if (rc != ST_OK || r.kind == REPLY_OK)
		return rc;
	return refused(i, &r, err);
}

/* ---- afterwards ---- */

/* Some servers let nobody in who does not say a name (quirk Q93). */
static enum status say_id(struct imap *i, int *tag, struct err *err)
{
	*tag = 0;
	if (!i->server.id)
		return ST_OK;
	*tag = imap_tag(i);
	return conn_sendf(i->conn, err,
		"%d ID (\"name\" \"popferry\" \"version\" \"%s\")\r\n", *tag, VERSION);
}

static void id_line(void *imap, const char *line, size_t n)
{
	struct imap *i = imap;

	i->dovecot |= text_glob("* ID (*\"name\" \"Dovecot\"*", line, n);
}

static enum status hear_id(struct imap *i, int tag, struct err *err)
{
	struct reply r;

	return tag ? reply_wait(i, tag, &r, id_line, i, err) : ST_OK;
}

static void keep_prefix(struct imap *i, const char *prefix, char delimiter)
{
	size_t k;

	for (k = 0; prefix[k]; k++)
		if (prefix[k] < ' ' || prefix[k] > '~')
			return;
	if (k > IMAP_NAME_MAX / 2)
		return;
	free(i->prefix);
	i->prefix = xstrdup(prefix);
	i->server.prefix = i->prefix;
	i->server.delimiter = delimiter;
}

static const struct mailimap_namespace_data *namespace_of(const mailimap *m)
{
	const struct mailimap_extension_data *d;
	clistiter *at;

	if (!m->imap_response_info)
		return NULL;
	for (at = clist_begin(m->imap_response_info->rsp_extension_list); at;
		at = clist_next(at)) {
		d = clist_content(at);
		if (d->ext_extension == &mailimap_extension_namespace &&
			d->ext_type == MAILIMAP_NAMESPACE_TYPE_NAMESPACE)
			return d->ext_data;
	}
	return NULL;
}

/* *found: the server names a personal namespace. */
static enum status hear_namespace(struct imap *i, int tag, bool *found, struct err *err)
{
	const struct mailimap_namespace_data *ns = NULL;
	const struct mailimap_namespace_info *info;
	struct reply r;
	enum status rc = etpan_answer(i, tag, &r, err);

	if (rc == ST_OK)
		ns = namespace_of(i->etpan);
	if (ns && ns->ns_personal && clist_begin(ns->ns_personal->ns_data_list)) {
		info = clist_content(clist_begin(ns->ns_personal->ns_data_list));
		*found = true;
		keep_prefix(i, info->ns_prefix, info->ns_delimiter);
	}
	return rc == ST_SKIP ? ST_OK : rc;
}

static enum status hear_delimiter(struct imap *i, int tag, struct err *err)
{
	const struct mailimap_mailbox_list *entry;
	clist *list = NULL;
	struct reply r;
	enum status rc = etpan_answer(i, tag, &r, err);

	if (rc == ST_OK && i->etpan->imap_response_info)
		list = i->etpan->imap_response_info->rsp_mailbox_list;
	if (list && clist_begin(list)) {
		entry = clist_content(clist_begin(list));
		i->server.delimiter = entry->mb_delimiter;
	}
	return rc == ST_SKIP ? ST_OK : rc;
}

static enum status say_where(struct imap *i, bool namespace, int *tag, struct err *err)
{
	*tag = imap_tag(i);
	return conn_sendf(i->conn, err, "%d %s\r\n", *tag,
		namespace ? "NAMESPACE" : "LIST \"\" \"\"");
}

/* Who we are, and where our mailboxes are: in one round trip. */
static enum status introduce(struct imap *i, struct err *err)
{
	bool namespace = i->server.namespace, found = false;
	enum status rc;
	int id, where;

	rc = say_id(i, &id, err);
	if (rc == ST_OK && !imap_together(i)) {
		rc = hear_id(i, id, err);
		id = 0;
	}
	if (rc == ST_OK)
		rc = say_where(i, namespace, &where, err);
	if (rc == ST_OK)
		rc = hear_id(i, id, err);
	if (rc == ST_OK && namespace)
		rc = hear_namespace(i, where, &found, err);
	if (rc == ST_OK && namespace && !found)
		rc = say_where(i, false, &where, err);
	if (rc == ST_OK && !found)
		rc = hear_delimiter(i, where, err);
	return rc;
}

/* ---- all at once ---- */

/* Dovecot reads on behind a login; and what follows fails when that is refused. */
static bool goes_ahead(const struct imap *i)
{
	return imap_together(i) && strstr(i->greeting, "Dovecot") && by_plain(i) &&
		i->server.sasl_ir && !i->cfg.look_only;
}

struct said {
	int login, id, where, inbox; /* tags; 0: not sent */
};

static enum status say_all(struct imap *i, struct said *t, struct err *err)
{
	struct buf b = BUF_INIT(CREDENTIAL_MAX);
	enum status rc = make_plain(i, &b, err);

	t->login = imap_tag(i);
	if (rc == ST_OK)
		rc = conn_sendf(i->conn, err, "%d AUTHENTICATE PLAIN ", t->login);
	if (rc == ST_OK)
		rc = send_secret(i, b.p, b.n, err);
	if (rc == ST_OK)
		rc = conn_send(i->conn, "\r\n", 2, err);
	if (rc == ST_OK)
		rc = say_id(i, &t->id, err);
	if (rc == ST_OK)
		rc = say_where(i, true, &t->where, err);
	if (rc == ST_OK && i->cfg.inbox)
		rc = select_say(i, "INBOX", &t->inbox, err);
	secret_free(&b);
	return rc;
}

/* ST_END: it does not know the command after all. */
static enum status hear_login(struct imap *i, const struct said *t, struct err *err)
{
	struct reply r = { 0 };
	enum status rc = reply_wait_go(i, t->login, &r, capability_line, i, err);

	if (rc != ST_OK)
		return rc;
	if (r.kind == REPLY_OK)
		capability_coded(i, &r);
	else if (r.kind == REPLY_NO)
		return refused(i, &r, err);
	else if (r.kind != REPLY_BAD)
		return imap_junk(i, &r, err);
	if (r.kind == REPLY_OK)
		return ST_OK;
	rc = hear_id(i, t->id, err);
	if (rc == ST_OK)
		rc = hear_id(i, t->where, err);
	if (rc == ST_OK)
		rc = hear_id(i, t->inbox, err);
	return rc == ST_OK ? ST_END : rc;
}

static enum status log_in_and_all(struct imap *i, struct err *err)
{
	int64_t began = clock_ms();
	struct said t = { 0, 0, 0, 0 };
	bool found = false;
	enum status rc = say_all(i, &t, err);

	if (rc == ST_OK)
		rc = hear_login(i, &t, err);
	if (rc == ST_OK)
		rc = hear_id(i, t.id, err);
	/* It counts only where it is offered now. */
	if (rc == ST_OK && i->server.namespace)
		rc = hear_namespace(i, t.where, &found, err);
	else if (rc == ST_OK)
		rc = hear_id(i, t.where, err);
	if (rc == ST_OK && t.inbox)
		rc = select_hear_inbox(i, t.inbox, began, err);
	if (rc == ST_OK && !found)
		rc = say_where(i, false, &t.where, err);
	if (rc == ST_OK && !found)
		rc = hear_delimiter(i, t.where, err);
	return rc;
}

enum status imap_login(struct imap *i, struct err *err)
{
	bool all = !i->preauth && goes_ahead(i);
	enum status rc = ST_OK;

	if (!i->preauth) {
		if (strpbrk(i->cfg.user, "\r\n") || strpbrk(i->cfg.password, "\r\n"))
			return err_set(err, ST_DENIED, EX_USAGE,
				"user name or password for %s has a line break in it",
				i->where);
		capability_forget(i);
		rc = all ? log_in_and_all(i, err) : ST_END;
		all = rc != ST_END;
		if (!all)
			rc = log_in(i, err);
		if (rc != ST_OK)
			return rc;
		i->etpan->imap_state = MAILIMAP_STATE_AUTHENTICATED;
	}
	rc = imap_capability(i, err);
	if (rc == ST_OK && !all)
		rc = introduce(i, err);
	if (rc == ST_OK && all && i->selected)
		rc = select_limits(i, err);
	if (rc == ST_OK && i->cfg.compress == IMAP_COMPRESS_YES)
		rc = imap_compress(i, err);
	i->authenticated = rc == ST_OK;
	return rc;
}
