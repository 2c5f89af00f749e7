/* session.c: a session from its greeting to its end. */
#include <popferry/mem.h>
#include <popferry/text.h>

#include "session.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	GREETING_MS = 60 * 1000,
	REPLY_MS = 300 * 1000,
	LOGOUT_MS = 5 * 1000,
	BATCH_COUNT = 200,
	CAPABILITIES_MAX = 1000,
	SAID_MAX = 80, /* bytes of a strange greeting that are shown */
};

#define BATCH_BYTES (4 * MIB)
#define WINDOW_BYTES (20 * MIB)

/* Below this an APPENDLIMIT is taken for one in KiB and not believed (Q84). */
#define APPEND_LIMIT_LOW MIB

int imap_tag(struct imap *i)
{
	return ++i->etpan->imap_tag;
}

const struct imap_server *imap_server(const struct imap *i)
{
	return &i->server;
}

int imap_wait_ms(struct imap *i)
{
	int ms = i->wait_ms ? i->wait_ms : i->ease_ms;

	i->ease_ms = 0;
	return ms;
}

bool imap_refused(const struct imap *i)
{
	return i->refused;
}

void imap_ignore_stop(struct imap *i)
{
	conn_ignore_stop(i->conn);
}

void imap_cancel(struct imap *i)
{
	conn_cancel(i->conn);
}

struct conn_counts imap_counts(const struct imap *i)
{
	return conn_counts(i->conn);
}

bool imap_together(const struct imap *i)
{
	return !i->cfg.cautious && i->cfg.literal != IMAP_LITERAL_SYNC;
}

/* ---- capabilities ---- */

bool imap_has(const struct imap *i, const char *capability)
{
	size_t k;

	for (k = 0; k < i->server.n_capability; k++)
		if (text_same(i->words[k], capability))
			return true;
	return false;
}

static uint64_t limit_of(const struct imap *i, const char *prefix)
{
	size_t k;

	for (k = 0; k < i->server.n_capability; k++)
		if (text_starts(i->words[k], prefix))
			return strtoull(i->words[k] + strlen(prefix), NULL, 10);
	return 0;
}

static void forget_words(struct imap *i)
{
	size_t k;

	for (k = 0; k < i->server.n_capability; k++)
		free(i->words[k]);
	free(i->words);
	i->words = NULL;
	i->server.n_capability = 0;
}

static void begin_words(struct imap *i)
{
	forget_words(i);
	i->words = xcalloc(CAPABILITIES_MAX, sizeof(*i->words));
	i->server.capability = (const char *const *)i->words;
}

static void keep_list(struct imap *i, clist *list)
{
	const struct mailimap_capability *c;
	clistiter *at;

	begin_words(i);
	for (at = list ? clist_begin(list) : NULL; at; at = clist_next(at)) {
		c = clist_content(at);
		if (i->server.n_capability == CAPABILITIES_MAX)
			break;
		i->words[i->server.n_capability++] = c->cap_type ==
				MAILIMAP_CAPABILITY_AUTH_TYPE
			? xasprintf("AUTH=%s", c->cap_data.cap_auth_type)
			: xstrdup(c->cap_data.cap_name);
	}
}

static void keep_text(struct imap *i, const char *p, size_t n)
{
	const char *end = p + n;
	size_t k;

	begin_words(i);
	for (; p < end && i->server.n_capability < CAPABILITIES_MAX; p += k) {
		for (k = 0; p + k < end && p[k] != ' '; k++)
			;
		if (k)
			i->words[i->server.n_capability++] = xmemdup0(p, k);
		k += p + k < end;
	}
}

static void understand_words(struct imap *i)
{
	struct imap_server *s = &i->server;
	const struct {
		const char *word;
		bool *flag;
	} flags[] = {
		{ "STARTTLS", &s->starttls },
		{ "LOGINDISABLED", &s->logindisabled },
		{ "AUTH=PLAIN", &s->sasl_plain },
		{ "SASL-IR", &s->sasl_ir },
		{ "LITERAL+", &s->literal_plus },
		{ "LITERAL-", &s->literal_minus },
		{ "MULTIAPPEND", &s->multiappend },
		{ "UIDPLUS", &s->uidplus },
		{ "NAMESPACE", &s->namespace },
		{ "SPECIAL-USE", &s->special_use },
		{ "ID", &s->id },
	};
	size_t k;

	for (k = 0; k < N_ELEMENTS(flags); k++)
		*flags[k].flag = imap_has(i, flags[k].word);
	s->append_limit = limit_of(i, "APPENDLIMIT=");
	i->message_limit = limit_of(i, "MESSAGELIMIT=");
	if (s->append_limit && s->append_limit < APPEND_LIMIT_LOW)
		i->limit_low = s->append_limit;
	else if (!i->cfg.append_max)
		i->cfg.append_max = s->append_limit;
}

/* Every list names the protocol; one that does not may be a part of it, or none. */
static void judge_words(struct imap *i)
{
	size_t k;

	for (k = 0; k < i->server.n_capability; k++)
		i->told |= text_starts(i->words[k], "IMAP4");
	understand_words(i);
}

static void take_text(struct imap *i, const char *p, size_t n)
{
	if (!text_glob("IMAP4*", p, n) && !text_glob("* IMAP4*", p, n))
		return;
	keep_text(i, p, n);
	judge_words(i);
}

void capability_coded(struct imap *i, const struct reply *r)
{
	const char *p;
	size_t n;

	if (reply_code(r, "CAPABILITY", &p, &n))
		take_text(i, p, n);
}

void capability_line(void *imap, const char *line, size_t n)
{
	static const char start[] = "* CAPABILITY ";
	size_t k = sizeof(start) - 1;

	if (n > k && text_same_n(line, start, k))
		take_text(imap, line + k, n - k);
}

void capability_heard(struct imap *i)
{
	const struct mailimap_capability_data *data =
		i->etpan->imap_connection_info->imap_capability;

	if (!data)
		return;
	keep_list(i, data->cap_list);
	judge_words(i);
}

void capability_forget(struct imap *i)
{
	struct mailimap_connection_info *info = i->etpan->imap_connection_info;

	if (info->imap_capability)
		mailimap_capability_data_free(info->imap_capability);
	info->imap_capability = NULL;
	i->told = false;
}

/*
 * What was said before STARTTLS or login does not count. mailimap_capability()
 * follows a null pointer when the server then names none.
 */
enum status imap_capability(struct imap *i, struct err *err)
{
	const struct mailimap_connection_info *info = i->etpan->imap_connection_info;
	struct reply r;
	enum status rc;

	if (i->told)
		return ST_OK;
	capability_forget(i);
	etpan_begin(i, MIB);
	rc = etpan_end(i, etpan_command(i, "CAPABILITY"), &r, err);
	if (rc == ST_SKIP)
		return imap_no(
			i, &r, EX_PROTOCOL, err, "%s refuses CAPABILITY", i->where);
	if (rc != ST_OK)
		return rc;
	keep_list(i, info->imap_capability ? info->imap_capability->cap_list : NULL);
	understand_words(i);
	return ST_OK;
}

/* ---- beginning ---- */

static struct imap *session_new(struct conn *c, const struct imap_config *cfg)
{
	struct imap *i = xcalloc(1, sizeof(*i));
	const char *host = cfg->net.host;

	i->conn = c;
	i->cfg = *cfg;
	if (!i->cfg.batch_count)
		i->cfg.batch_count = BATCH_COUNT;
	if (!i->cfg.batch_bytes)
		i->cfg.batch_bytes = BATCH_BYTES;
	if (!i->cfg.window_bytes)
		i->cfg.window_bytes = WINDOW_BYTES;
	if (!i->cfg.greeting_ms)
		i->cfg.greeting_ms = GREETING_MS;
	if (!i->cfg.reply_ms)
		i->cfg.reply_ms = REPLY_MS;
	if (host)
		i->where = xasprintf(
			strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, cfg->net.port);
	else
		i->where = xstrdup(conn_peer(c));
	i->server.peer = conn_peer(c);
	i->prefix = xstrdup("");
	i->server.prefix = i->prefix;
	i->ring_cap = COMMANDS_MAX + (MULTI_MAX + 1) * (size_t)i->cfg.batch_count;
	i->ring = xcalloc(i->ring_cap, sizeof(*i->ring));
	i->batch = xcalloc(i->cfg.batch_count, sizeof(*i->batch));
	i->piece = xmalloc(PIECE);
	etpan_open(i);
	return i;
}

/* Looks at the greeting without taking it: it may be that of something else. */
static enum status see_greeting(struct imap *i, struct err *err)
{
	const char *p, *lf;
	struct reply r;
	enum status rc;
	size_t n;

	conn_patience(i->conn, i->cfg.greeting_ms);
	for (;;) {
		p = conn_peek(i->conn, &n);
		lf = n ? memchr(p, '\n', n) : NULL;
		if (lf || n > IMAP_LINE_MAX)
			break;
		rc = conn_fill(i->conn, err);
		if (rc != ST_OK)
			return rc;
	}
	conn_patience(i->conn, i->cfg.reply_ms);
	n = lf ? (size_t)(lf - p) : IMAP_LINE_MAX;
	if (n && p[n - 1] == '\r')
		n--;
	i->greeting = xmemdup0(p, n);
	i->server.greeting = i->greeting;
	reply_parse(&r, i->greeting, n);
	if (lf && r.kind == REPLY_BYE)
		return imap_bye(i, &r, err);
	if (lf && n >= 2 && p[0] == '*' && p[1] == ' ')
		return ST_OK;
	if (n >= 3 && memcmp(p, "+OK", 3) == 0)
		rc = err_set(err, ST_DENIED, EX_PROTOCOL,
			"%s answers as a POP3 server; use the IMAP port (993 or 143)",
			i->where);
	else
		rc = err_set(err, ST_DENIED, EX_PROTOCOL,
			"%s does not answer as an IMAP server (it said: %.*s); check "
			"host and port",
			i->where, (int)(n < SAID_MAX ? n : SAID_MAX), p);
	err_reply(err, p, n);
	conn_kill(i->conn);
	return rc;
}

/*
 * In place of mailimap_connect(), which follows a null pointer at a list or a
 * quoted string in the greeting's response code.
 */
static enum status greet(struct imap *i, struct err *err)
{
	enum status rc = see_greeting(i, err);
	mailimap *m = i->etpan;
	struct reply r;

	if (rc == ST_OK)
		rc = reply_read(i, &r, NULL, NULL, err);
	if (rc != ST_OK)
		return rc;
	if (r.kind != REPLY_OK && r.kind != REPLY_PREAUTH)
		return imap_junk(i, &r, err);
	i->preauth = r.kind == REPLY_PREAUTH;
	m->imap_stream = conn_stream(i->conn);
	m->imap_connection_info = mailimap_connection_info_new();
	if (!m->imap_connection_info)
		xmemory_gone();
	m->imap_state = i->preauth ? MAILIMAP_STATE_AUTHENTICATED
				   : MAILIMAP_STATE_NON_AUTHENTICATED;
	capability_coded(i, &r);
	return ST_OK;
}

static enum status start_tls(struct imap *i, struct err *err)
{
	struct reply r;
	enum status rc;

	if (i->preauth)
		return err_set(err, ST_DENIED, EX_UNAVAILABLE,
			"%s greets us as already logged in, so that STARTTLS cannot be used; "
			"the connection may be tampered with",
			i->where);
	if (!i->server.starttls)
		return err_set(err, ST_DENIED, EX_UNAVAILABLE,
			"%s does not offer STARTTLS, and going on in plain text is not "
			"allowed; try imaps:// (port 993)",
			i->where);
	etpan_begin(i, MIB);
	rc = etpan_end(i, mailimap_starttls(i->etpan), &r, err);
	if (rc == ST_SKIP)
		return imap_no(
			i, &r, EX_UNAVAILABLE, err, "%s refuses STARTTLS", i->where);
	if (rc == ST_OK)
		rc = conn_start_tls(i->conn, err);
	if (rc != ST_OK)
		return rc;
	capability_forget(i);
	return imap_capability(i, err);
}

enum status imap_over(struct imap **out, struct conn *c, const struct imap_config *cfg,
	struct err *err)
{
	struct imap *i = session_new(c, cfg);
	enum status rc = greet(i, err);

	if (rc == ST_OK)
		rc = imap_capability(i, err);
	if (rc == ST_OK && cfg->net.tls == TLS_STARTTLS)
		rc = start_tls(i, err);
	if (rc != ST_OK) {
		conn_kill(c);
		imap_close(&i);
		return rc;
	}
	i->server.tls = conn_tls(c);
	*out = i;
	return ST_OK;
}

enum status imap_connect(
	struct imap **out, const struct imap_config *cfg, struct err *err)
{
	struct conn *c;
	enum status rc = conn_dial(&c, &cfg->net, err);

	return rc == ST_OK ? imap_over(out, c, cfg, err) : rc;
}

/* ---- end ---- */

void imap_close(struct imap **ip)
{
	struct imap *i = *ip;
	char goodbye[32];

	if (!i)
		return;
	/* All that was stored has been answered, so nobody waits for the BYE. */
	if (!i->flights_n && !i->batch_n) {
		conn_patience(i->conn,
			i->cfg.reply_ms < LOGOUT_MS ? i->cfg.reply_ms : LOGOUT_MS);
		snprintf(goodbye, sizeof(goodbye), "%d LOGOUT\r\n", imap_tag(i));
		conn_part(i->conn, goodbye);
	}
	/* Before libetpan is freed, which would say it again. */
	conn_kill(i->conn);
	mailimap_free(i->etpan);
	conn_close(&i->conn);
	folders_free(i);
	forget_words(i);
	free(i->where);
	free(i->greeting);
	free(i->prefix);
	free(i->ring);
	free(i->batch);
	free(i->piece);
	free(i);
	*ip = NULL;
}
