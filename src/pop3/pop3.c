/* pop3.c: sessions from the greeting to the end. */
#include <popferry/buf.h>
#include <popferry/log.h>
#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "session.h"

#include <libetpan/libetpan.h>
#include <stdlib.h>
#include <string.h>

enum {
	GREETING_MS = 60 * 1000,
	REPLY_MS = 600 * 1000, /* big maildrops are slow to open: quirk Q16 */
	IDLE_MS = 120 * 1000,
	CAPA_MS = 15 * 1000,
	WINDOW_COUNT = 10000,
	STAMP_MAX = 256,
	ETPAN_BUDGET = 4 * POP3_STATUS_MAX,
};
#define WINDOW_BYTES ((uint64_t)32 << 20)
#define MESSAGE_MAX ((uint64_t)2 << 30)

/* ---- libetpan ---- */

/* libetpan has no limits of its own and recurses. */
static void etpan_bounds(struct pop3 *p, bool on)
{
	conn_budget(p->c, on ? ETPAN_BUDGET : UINT64_MAX);
	conn_guard(p->c, on);
}

/* ---- greeting ---- */

/* Shows the first line, leaving it where it is. */
static enum status first_line(
	struct pop3 *p, const char **line, size_t *n, struct err *err)
{
	const char *lf;
	enum status st;

	conn_patience(p->c, p->cfg.greeting_ms);
	while (*line = conn_peek(p->c, n), !(lf = memchr(*line, '\n', *n))) {
		if (*n > POP3_STATUS_MAX)
			break;
		st = conn_fill(p->c, err);
		if (st != ST_OK) {
			err_note(err, "waiting for the greeting");
			return st;
		}
	}
	if (lf)
		*n = (size_t)(lf - *line);
	if (*n > POP3_STATUS_MAX)
		return talk_broken(
			p, err, "greets with a line over %d bytes", POP3_STATUS_MAX);
	if (*n && (*line)[*n - 1] == '\r')
		--*n;
	return ST_OK;
}

static bool starts(const char *p, size_t n, const char *prefix)
{
	size_t k = strlen(prefix);

	return n >= k && text_same_n(p, prefix, k);
}

/* Something answers, but it is not a POP3 server. */
static enum status wrong_service(
	struct pop3 *p, const char *line, size_t n, struct err *err)
{
	static const struct {
		const char *prefix, *name;
	} others[] = {
		{ "* OK", "an IMAP" },
		{ "* PREAUTH", "an IMAP" },
		{ "* BYE", "an IMAP" },
		{ "220", "an SMTP or FTP" },
		{ "HTTP/", "a web" },
		{ "SSH-", "an SSH" },
	};
	struct reply r = { REPLY_ODD, line, n, false };
	size_t i;

	conn_kill(p->c);
	for (i = 0; i < N_ELEMENTS(others); i++)
		if (starts(line, n, others[i].prefix))
			return talk_said(&r, err, ST_DENIED, EX_PROTOCOL,
				"%s answers as %s server; use the POP3 port (995 or 110)",
				p->where, others[i].name);
	return talk_said(&r, err, ST_DENIED, EX_PROTOCOL,
		"%s does not greet as a POP3 server; check host and port", p->where);
}

/* The first valid stamp, wherever in the greeting it stands (quirk Q65). */
static char *find_stamp(const char *p, size_t n)
{
	const char *end = p + n, *close;
	char stamp[STAMP_MAX + 1], digest[33];
	size_t k;

	for (; p < end; p++) {
		if (*p != '<')
			continue;
		close = memchr(p, '>', (size_t)(end - p));
		if (!close)
			return NULL;
		k = (size_t)(close - p) + 1;
		if (k > STAMP_MAX || memchr(p + 1, '<', k - 1) || memchr(p, '\0', k))
			continue;
		memcpy(stamp, p, k);
		stamp[k] = '\0';
		if (apop_digest(stamp, "", digest))
			return xstrdup(stamp);
	}
	return NULL;
}

static char *cleaned(const char *p, size_t n)
{
	struct buf b = BUF_INIT(SIZE_MAX / 2);

	text_clean_add(&b, p, n);
	buf_add(&b, "", 0);
	return buf_take(&b);
}

static enum status greet(struct pop3 *p, struct err *err)
{
	const char *line;
	struct reply r;
	enum status st;
	size_t n;

	st = first_line(p, &line, &n, err);
	if (st != ST_OK)
		return st;
	r = pop3_reply_parse(line, n);
	if (r.kind == REPLY_ERR)
		return refused_greeting(p, &r, err);
	if (r.kind != REPLY_OK)
		return wrong_service(p, line, n, err);
	p->greeting = cleaned(r.words, r.n);
	p->stamp = find_stamp(line, n);
	p->dovecot = strstr(p->greeting, "Dovecot") != NULL;
	etpan_bounds(p, true);
	mailpop3_connect(p->etpan, conn_stream(p->c));
	etpan_bounds(p, false);
	/* It knows "+OK" in capitals only; we have seen that it is one. */
	return conn_last(p->c, err);
}

/* ---- capabilities ---- */

static void forget_capa(struct pop3 *p)
{
	struct pop3_server *s = &p->server;

	while (s->n_capa)
		free(p->capa[--s->n_capa]);
	s->has_capa = s->stls = s->pipelining = false;
	s->uidl = s->user = s->sasl_plain = false;
	s->login_delay = 0;
	s->expire = NULL;
}

/* The next word of a line; *n is 0 at its end. */
static const char *word(const char **p, const char *end, size_t *n)
{
	const char *start;

	while (*p < end && (**p == ' ' || **p == '\t'))
		++*p;
	for (start = *p; *p < end && **p != ' ' && **p != '\t';)
		++*p;
	*n = (size_t)(*p - start);
	return start;
}

/* 0 for what is none. */
static unsigned whole_number(const char *s)
{
	unsigned long n = *s >= '0' && *s <= '9' ? strtoul(s, NULL, 10) : 0;

	return n <= INT32_MAX ? (unsigned)n : 0;
}

static void take_capa(struct pop3 *p, const char *line, size_t n)
{
	struct pop3_server *s = &p->server;
	const struct {
		const char *name;
		bool *flag;
	} flags[] = {
		{ "STLS", &s->stls },
		{ "PIPELINING", &s->pipelining },
		{ "UIDL", &s->uidl },
		{ "USER", &s->user },
	};
	const char *at = line, *end = line + n, *w;
	bool sasl;
	size_t i, k;
	char *text = cleaned(line, n);

	p->capa[s->n_capa++] = text;
	if (starts(text, strlen(text), "LOGIN-DELAY "))
		s->login_delay = whole_number(text + strlen("LOGIN-DELAY "));
	if (starts(text, strlen(text), "EXPIRE "))
		s->expire = text + strlen("EXPIRE ");
	w = word(&at, end, &k);
	for (i = 0; i < N_ELEMENTS(flags); i++)
		if (k == strlen(flags[i].name) && text_same_n(w, flags[i].name, k))
			*flags[i].flag = true;
	sasl = k == 4 && text_same_n(w, "SASL", k);
	while (sasl && (w = word(&at, end, &k), k > 0))
		if (k == 5 && text_same_n(w, "PLAIN", k))
			s->sasl_plain = true;
}

static enum status read_capa(struct pop3 *p, struct err *err)
{
	const char *line;
	enum status st;
	size_t n;

	for (;;) {
		st = conn_line(p->c, POP3_STATUS_MAX, &line, &n, err);
		if (st == ST_OK && n == 1 && line[0] == '.')
			return ST_OK;
		if (st == ST_DENIED ||
			(st == ST_OK && p->server.n_capa == POP3_CAPA_MAX))
			return talk_broken(
				p, err, "sends more capabilities than is believable");
		if (st != ST_OK) {
			err_note(err, "in the answer to CAPA");
			return st;
		}
		take_capa(p, line, n);
	}
}

/* What is refused leaves in place what was said before. */
static enum status hear_capa(struct pop3 *p, struct err *err)
{
	struct reply r;
	enum status st = talk_reply(p, &r, "CAPA", p->cfg.reply_ms, err);

	if (st != ST_OK || r.kind == REPLY_ERR)
		return st;
	if (r.kind != REPLY_OK)
		return talk_odd(p, &r, "CAPA", err);
	forget_capa(p);
	p->server.has_capa = true;
	return read_capa(p, err);
}

enum status session_hear_capa(struct pop3 *p, int patience, struct err *err)
{
	int reply = p->cfg.reply_ms, idle = p->cfg.idle_ms;
	enum status st;

	p->cfg.reply_ms = reply < patience ? reply : patience;
	p->cfg.idle_ms = idle < patience ? idle : patience;
	st = hear_capa(p, err);
	p->cfg.reply_ms = reply;
	p->cfg.idle_ms = idle;
	return st;
}

enum status session_capa(struct pop3 *p, struct err *err)
{
	int64_t asked = clock_ms();
	enum status st;

	if (p->cfg.no_capa)
		return ST_OK;
	st = talk_settled(p, err);
	if (st == ST_OK)
		st = conn_sendf(p->c, err, "CAPA\r\n");
	/* It is a small thing, and some servers never answer it (quirk Q57). */
	if (st == ST_OK)
		st = session_hear_capa(p, CAPA_MS, err);
	if (st == ST_OK)
		conn_answered(p->c, clock_ms() - asked);
	p->capa_failed = st == ST_RETRY;
	return st;
}

/* ---- STLS ---- */

static enum status no_stls(struct pop3 *p, const char *what, struct err *err)
{
	conn_kill(p->c);
	return err_set(err, ST_DENIED, EX_UNAVAILABLE,
		"%s %s TLS (STLS), and going on in plain text is not allowed; try "
		"pop3s:// (port 995)",
		p->where, what);
}

/* What was said in plain text may have been said by anybody. */
static void forget_plain_text(struct pop3 *p)
{
	free(p->etpan->pop3_timestamp);
	p->etpan->pop3_timestamp = NULL;
	free(p->stamp);
	p->stamp = NULL;
	free(p->greeting);
	p->greeting = xstrdup("");
	forget_capa(p);
}

static enum status start_tls(struct pop3 *p, struct err *err)
{
	enum status st;
	int rc;

	if (p->server.has_capa && !p->server.stls)
		return no_stls(p, "does not offer", err);
	st = talk_settled(p, err);
	if (st != ST_OK)
		return st;
	conn_patience(p->c, p->cfg.reply_ms);
	etpan_bounds(p, true);
	rc = mailpop3_stls(p->etpan);
	etpan_bounds(p, false);
	conn_patience(p->c, p->cfg.idle_ms);
	st = conn_last(p->c, err);
	if (st != ST_OK) {
		err_note(err, "waiting for the reply to STLS");
		return st;
	}
	if (rc == MAILPOP3_ERROR_SSL)
		return err_set(err, ST_DENIED, EX_PROTOCOL,
			"%s sent plain text after agreeing to TLS: somebody may be "
			"tampering with the connection",
			p->where);
	if (rc != MAILPOP3_NO_ERROR)
		return no_stls(p, "refuses", err);
	forget_plain_text(p);
	return conn_start_tls(p->c, err);
}

/* ---- opening ---- */

static char *host_port(const struct net_config *net, const struct conn *c)
{
	if (!net->host)
		return xstrdup(conn_peer(c));
	return xasprintf(
		strchr(net->host, ':') ? "[%s]:%u" : "%s:%u", net->host, net->port);
}

static void set_defaults(struct pop3_config *cfg)
{
	if (cfg->greeting_ms <= 0)
		cfg->greeting_ms = GREETING_MS;
	if (cfg->reply_ms <= 0)
		cfg->reply_ms = REPLY_MS;
	if (cfg->idle_ms <= 0)
		cfg->idle_ms = IDLE_MS;
	if (!cfg->window_bytes)
		cfg->window_bytes = WINDOW_BYTES;
	if (!cfg->window_count)
		cfg->window_count = WINDOW_COUNT;
	if (!cfg->message_max)
		cfg->message_max = MESSAGE_MAX;
}

static struct pop3 *new_session(struct conn *c, const struct pop3_config *cfg)
{
	struct pop3 *p = xcalloc(1, sizeof(*p));

	p->c = c;
	p->where = host_port(&cfg->net, c);
	p->cfg = *cfg;
	set_defaults(&p->cfg);
	p->user = p->cfg.user ? xstrdup(p->cfg.user) : NULL;
	p->password = p->cfg.password ? xstrdup(p->cfg.password) : NULL;
	/* The rest is the caller's and may go. */
	p->cfg.user = p->cfg.password = NULL;
	p->cfg.net = (struct net_config){ .host = NULL };
	p->capa = xcalloc(POP3_CAPA_MAX, sizeof(*p->capa));
	p->etpan = mailpop3_new(0, NULL);
	if (!p->etpan)
		xmemory_gone();
	return p;
}

/* *capa: it was CAPA that ended the session. */
static enum status open_over(struct pop3 **out, struct conn *c,
	const struct pop3_config *cfg, bool *capa, struct err *err)
{
	struct pop3 *p = new_session(c, cfg);
	struct pop3_server *s = &p->server;
	enum status st;

	st = greet(p, err);
	p->skipped_capa = st == ST_OK && cfg->net.tls == TLS_IMPLICIT &&
		conn_tls(p->c) && login_goes_ahead(p);
	if (st == ST_OK && !p->skipped_capa)
		st = session_capa(p, err);
	if (st == ST_OK && cfg->net.tls == TLS_STARTTLS) {
		st = start_tls(p, err);
		if (st == ST_OK)
			st = session_capa(p, err);
	}
	*capa = p->capa_failed;
	if (st == ST_OK) {
		s->greeting = p->greeting;
		s->capa = (const char *const *)p->capa;
		s->apop = p->stamp != NULL;
		s->tls = conn_tls(p->c);
		s->peer = conn_peer(p->c);
		s->keeps = p->dovecot;
		*out = p;
		p = NULL;
	}
	pop3_close(&p);
	return st;
}

enum status pop3_over(struct pop3 **out, struct conn *c, const struct pop3_config *cfg,
	struct err *err)
{
	bool capa;

	return open_over(out, c, cfg, &capa, err);
}

enum status pop3_connect(
	struct pop3 **out, const struct pop3_config *cfg, struct err *err)
{
	struct pop3_config plain = *cfg;
	struct err first;
	struct conn *c;
	bool capa = false;
	enum status st = conn_dial(&c, &cfg->net, err);

	if (st == ST_OK)
		st = open_over(out, c, cfg, &capa, err);
	if (!capa)
		return st;
	first = *err;
	plain.no_capa = true;
	st = conn_dial(&c, &cfg->net, err);
	if (st == ST_OK)
		st = open_over(out, c, &plain, &capa, err);
	if (st == ST_OK) {
		(*out)->capa_failed = true;
		log_warn(cfg->net.log, "no-capa", LOG_S("server", (*out)->where),
			LOG_S("reason", first.text));
	}
	return st;
}

/* ---- facts ---- */

const struct pop3_server *pop3_server(const struct pop3 *p)
{
	return &p->server;
}

bool pop3_pipelining_failed(const struct pop3 *p)
{
	return p->ahead_failed;
}

bool pop3_capa_failed(const struct pop3 *p)
{
	return p->capa_failed;
}

enum pop3_oddity pop3_oddity(const struct pop3 *p)
{
	return p->oddity;
}

struct conn_counts pop3_counts(const struct pop3 *p)
{
	return conn_counts(p->c);
}

void pop3_cancel(struct pop3 *p)
{
	conn_cancel(p->c);
}

bool session_wanting(const struct pop3 *p)
{
	return p->wants.head < p->wants.n;
}

/* ---- the end ---- */

void pop3_close(struct pop3 **pp)
{
	struct pop3 *p = *pp;

	if (!p)
		return;
	/* First, for mailpop3_free() says QUIT where it can, and that deletes. */
	conn_kill(p->c);
	mailpop3_free(p->etpan);
	conn_close(&p->c);
	forget_capa(p);
	if (p->password)
		explicit_bzero(p->password, strlen(p->password));
	free(p->password);
	free(p->user);
	free(p->where);
	free(p->greeting);
	free(p->capa);
	free(p->stamp);
	free(p->wants.p);
	pop3_forget(p);
	free(p);
	*pp = NULL;
}
