/*
 * login.c: proving who we are, once.
 *
 * What is secret is marked as such while it is sent. A server that says it back
 * to us must not bring it into the trace or an error text either, so the
 * replies are looked through before they are shown.
 */
#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	COMMAND_MAX = 255, /* RFC 2449, with CRLF */
	PLAIN_MAX = 4096,
	CANARY_MS = 20 * 1000,
	DIGEST_HEX = 32,
	DELAY_MAX = 30 * 86400, /* seconds; a longer one is not believed */
};

/* ---- refusals ---- */

struct refusal {
	const char *code; /* of RFC 2449 and RFC 3206 */
	enum status st;
	int ex;
	const char *what, *advice;
};

static const struct refusal refusals[] = {
	{ "AUTH", ST_DENIED, EX_NOPERM, "login refused",
		"check the password; providers often want an app password, or POP3 "
		"enabled in the settings" },
	{ "SYS/PERM", ST_DENIED, EX_UNAVAILABLE, "login refused",
		"the server reports a lasting fault; its operator must help" },
	{ "SYS/TEMP", ST_RETRY, EX_TEMPFAIL, "login not possible now",
		"the server reports a passing fault; try again later" },
	{ "IN-USE", ST_RETRY, EX_TEMPFAIL, "the maildrop is in use",
		"end the other mail program, or wait: a lost session can hold it for "
		"ten minutes" },
	{ "LOGIN-DELAY", ST_RETRY, EX_TEMPFAIL, "the last login is too recent",
		"wait before trying again" },
};
enum { REFUSED, UNWELL = 2, IN_USE = 3 };

/* As servers without codes tell of locks and overload (quirks Q48, Q51). */
static const struct {
	const char *word;
	int refusal;
} busy_words[] = {
	{ "lock", IN_USE },
	{ "in use", IN_USE },
	{ "in-use", IN_USE },
	{ "being used", IN_USE },
	{ "another session", IN_USE },
	{ "another pop", IN_USE },
	{ "already open", IN_USE },
	{ "busy", UNWELL },
	{ "wait", UNWELL },
	{ "too many", UNWELL },
	{ "try again later", UNWELL },
	{ "try later", UNWELL },
	{ "temporar", UNWELL },
	{ "service unavailable", UNWELL },
	{ "service is unavailable", UNWELL },
	{ "service not available", UNWELL },
	{ "currently unavailable", UNWELL },
	{ "overload", UNWELL },
	{ "maintenance", UNWELL },
	{ "login limit", UNWELL },
	{ "login rate", UNWELL },
	{ "rate limit", UNWELL },
};

/* Does a word of the text start so? "blocked" does not speak of a lock. */
static bool speaks_of(const char *p, size_t n, const char *word)
{
	size_t i, k = strlen(word);
	bool inside = false;

	for (i = 0; i + k <= n; i++) {
		if (!inside && text_same_n(p + i, word, k))
			return true;
		inside = ((unsigned char)p[i] | 0x20) >= 'a' &&
			((unsigned char)p[i] | 0x20) <= 'z';
	}
	return false;
}

/* "[CODE]", "[CODE/more]" or "[CODE more]" in front of the words. */
static bool has_code(const struct reply *r, const char *code)
{
	size_t k = strlen(code);

	return r->n > k + 1 && r->words[0] == '[' &&
		text_same_n(r->words + 1, code, k) && strchr("]/ ", r->words[k + 1]) &&
		memchr(r->words, ']', r->n);
}

static const struct refusal *coded(const struct reply *r)
{
	size_t i;

	for (i = 0; i < N_ELEMENTS(refusals); i++)
		if (has_code(r, refusals[i].code))
			return &refusals[i];
	return NULL;
}

static const struct refusal *judge(const struct reply *r)
{
	const struct refusal *found = coded(r);
	size_t i;

	if (found)
		return found;
	for (i = 0; i < N_ELEMENTS(busy_words); i++)
		if (speaks_of(r->words, r->n, busy_words[i].word))
			return &refusals[busy_words[i].refusal];
	return &refusals[REFUSED];
}

/* "[LOGIN-DELAY 60]": some say how long, though no standard does. */
static void learn_delay(struct pop3 *p, const struct reply *r)
{
	size_t i = strlen("[LOGIN-DELAY") + 1;
	unsigned delay = 0;

	for (; i < r->n && r->words[i] >= '0' && r->words[i] <= '9' &&
		delay < DELAY_MAX;
		i++)
		delay = 10 * delay + (unsigned)(r->words[i] - '0');
	if (has_code(r, "LOGIN-DELAY") && delay > p->server.login_delay)
		p->server.login_delay = delay < DELAY_MAX ? delay : DELAY_MAX;
}

enum status refused_greeting(struct pop3 *p, const struct reply *r, struct err *err)
{
	const struct refusal *f = coded(r);

	learn_delay(p, r);
	if (f && f->st == ST_DENIED)
		return talk_said(r, err, f->st, f->ex, "%s does not serve us: %s",
			p->where, f->advice);
	return talk_said(r, err, ST_RETRY, EX_TEMPFAIL,
		"%s does not serve us now; try again later", p->where);
}

/* The server's words, unless they hold what is secret. */
static struct reply shown(const struct reply *r, bool hide)
{
	static const char words[] = "not shown, for it repeats the password";

	return hide ? (struct reply){ r->kind, words, sizeof(words) - 1, false } : *r;
}

static enum status refused(
	struct pop3 *p, const struct reply *r, bool hide, struct err *err)
{
	const struct refusal *f = judge(r);
	struct reply s = shown(r, hide);
	char words[128];

	learn_delay(p, r);
	text_clean(words, sizeof(words), s.words, s.n);
	err_set(err, f->st, f->ex, "%s for %.128s at %s (server said: %s); %s", f->what,
		p->user, p->where, *words ? words : "nothing", f->advice);
	err_reply(err, s.words, s.n);
	conn_kill(p->c);
	return f->st;
}

/* ---- secrets on the wire ---- */

static enum status send_secret(struct pop3 *p, const char *s, struct err *err)
{
	enum status st;

	conn_secret(p->c, true);
	st = conn_send(p->c, s, strlen(s), err);
	conn_secret(p->c, false);
	return st == ST_OK ? conn_send(p->c, "\r\n", 2, err) : st;
}

/* Is it, or the password, in the line that comes next? Waits until that can be told. */
static enum status says_back(
	struct pop3 *p, const char *secret, bool *yes, struct err *err)
{
	const char *in, *lf;
	enum status st = ST_OK;
	size_t n;

	conn_patience(p->c, p->cfg.reply_ms);
	while (in = conn_peek(p->c, &n), lf = memchr(in, '\n', n),
		!lf && n <= POP3_STATUS_MAX && st == ST_OK)
		st = conn_fill(p->c, err);
	if (lf)
		n = (size_t)(lf - in);
	*yes = memmem(in, n, secret, strlen(secret)) ||
		memmem(in, n, p->password, strlen(p->password));
	if (st != ST_OK)
		err_note(err, "waiting for the reply to the login");
	return st;
}

/* The server says yes or no to the secret; or it does not answer. */
static enum status hear_verdict(struct pop3 *p, const char *command, const char *secret,
	bool *answered, struct err *err)
{
	struct reply r, s;
	bool hide;
	enum status st = says_back(p, secret, &hide, err);

	*answered = false;
	if (st != ST_OK)
		return st;
	conn_secret(p->c, hide);
	st = talk_reply(p, &r, command, p->cfg.reply_ms, err);
	conn_secret(p->c, false);
	*answered = st == ST_OK && (r.kind == REPLY_OK || r.kind == REPLY_ERR);
	if (st != ST_OK || r.kind == REPLY_OK)
		return st;
	if (r.kind == REPLY_ERR)
		return refused(p, &r, hide, err);
	s = shown(&r, hide);
	return talk_odd(p, &s, command, err);
}

/* The last step: the secret goes out. */
static enum status give(
	struct pop3 *p, const char *command, const char *secret, struct err *err)
{
	enum status st = send_secret(p, secret, err);
	bool answered;

	return st == ST_OK ? hear_verdict(p, command, secret, &answered, err) : st;
}

/* ---- the ways ---- */

static enum status check(const char *what, const char *s, size_t max, struct err *err)
{
	if (!s || !*s)
		return err_set(err, ST_DENIED, EX_USAGE, "the %s is empty", what);
	if (strpbrk(s, "\r\n"))
		return err_set(err, ST_DENIED, EX_USAGE,
			"the %s contains a line end, which cannot be sent", what);
	if (strlen(s) > max)
		return err_set(err, ST_DENIED, EX_USAGE,
			"the %s is longer than the %zu bytes this kind of POP3 login can carry",
			what, max);
	return ST_OK;
}

static enum status login_user(struct pop3 *p, struct err *err)
{
	size_t max = COMMAND_MAX - strlen("USER \r\n");
	struct reply r;
	enum status st;

	st = check("user name", p->user, max, err);
	if (st == ST_OK)
		st = check("password", p->password, max, err);
	if (st == ST_OK)
		st = talk(p, &r, err, "USER %s", p->user);
	if (st != ST_OK)
		return st;
	if (r.kind == REPLY_ERR)
		return refused(p, &r, false, err);
	if (r.kind != REPLY_OK)
		return talk_odd(p, &r, "USER", err);
	st = talk_settled(p, err);
	if (st == ST_OK)
		st = conn_send(p->c, "PASS ", 5, err);
	return st == ST_OK ? give(p, "PASS", p->password, err) : st;
}

/* Where that is known to be understood, in one step. */
static enum status give_plain_at_once(
	struct pop3 *p, const char *token, struct err *err)
{
	enum status st = talk_settled(p, err);

	if (st == ST_OK)
		st = conn_sendf(p->c, err, "AUTH PLAIN ");
	return st == ST_OK ? give(p, "AUTH PLAIN", token, err) : st;
}

/*
 * In two steps, for some servers end the connection over a long first line
 * (quirk Q66). ST_END: not known here after all, and nothing secret was sent.
 */
static enum status give_plain(struct pop3 *p, const char *token, struct err *err)
{
	struct reply r;
	enum status st = talk(p, &r, err, "AUTH PLAIN");

	if (st != ST_OK)
		return st;
	if (r.kind == REPLY_ERR && p->cfg.auth == POP3_AUTH_AUTO && !coded(&r))
		return ST_END;
	if (r.kind == REPLY_ERR)
		return refused(p, &r, false, err);
	if (r.kind != REPLY_MORE)
		return talk_odd(p, &r, "AUTH PLAIN", err);
	return give(p, "AUTH PLAIN", token, err);
}

static enum status login_plain(struct pop3 *p, struct err *err)
{
	struct buf token = BUF_INIT(4 * PLAIN_MAX);
	enum status st;

	st = check("user name", p->user, PLAIN_MAX, err);
	if (st == ST_OK)
		st = check("password", p->password, PLAIN_MAX, err);
	if (st != ST_OK)
		return st;
	sasl_plain(p->user, p->password, &token);
	if (p->dovecot && p->server.sasl_plain &&
		token.n <= COMMAND_MAX - strlen("AUTH PLAIN \r\n"))
		st = give_plain_at_once(p, buf_str(&token), err);
	else
		st = give_plain(p, buf_str(&token), err);
	explicit_bzero(token.p, token.n);
	buf_free(&token);
	return st;
}

static enum status login_apop(struct pop3 *p, struct err *err)
{
	size_t max = COMMAND_MAX - strlen("APOP  \r\n") - DIGEST_HEX;
	char digest[DIGEST_HEX + 1];
	enum status st;

	if (!p->stamp) {
		conn_kill(p->c);
		return err_set(err, ST_DENIED, EX_UNAVAILABLE,
			"%s does not offer APOP%s; choose another way to log in",
			p->where, conn_tls(p->c) ? " within TLS" : "");
	}
	st = check("user name", p->user, max, err);
	if (st == ST_OK)
		st = check("password", p->password, PLAIN_MAX, err);
	if (st == ST_OK)
		st = talk_settled(p, err);
	if (st == ST_OK)
		st = conn_sendf(p->c, err, "APOP %s ", p->user);
	if (st != ST_OK)
		return st;
	apop_digest(p->stamp, p->password, digest);
	st = give(p, "APOP", digest, err);
	explicit_bzero(digest, sizeof(digest));
	/* Some show the timestamp, and take no APOP (Cyrus, mailutils). */
	if (st == ST_DENIED && err && err->exit == EX_NOPERM) {
		size_t n = strlen(err->text);

		snprintf(err->text + n, sizeof(err->text) - n,
			"; it was given by APOP, which not every server that offers it "
			"takes: TLS, or auth = user in a profile, does without");
	}
	return st;
}

static enum pop3_auth choose(const struct pop3 *p)
{
	if (p->cfg.auth != POP3_AUTH_AUTO)
		return p->cfg.auth;
	if (!conn_tls(p->c) && p->stamp)
		return POP3_AUTH_APOP;
	return p->server.sasl_plain ? POP3_AUTH_PLAIN : POP3_AUTH_USER;
}

static enum status prove(struct pop3 *p, struct err *err)
{
	static enum status (*const ways[])(struct pop3 *, struct err *) = {
		[POP3_AUTH_USER] = login_user,
		[POP3_AUTH_PLAIN] = login_plain,
		[POP3_AUTH_APOP] = login_apop,
	};
	enum status st = ways[choose(p)](p, err);

	return st == ST_END ? login_user(p, err) : st;
}

static void wipe(char **s)
{
	if (*s)
		explicit_bzero(*s, strlen(*s));
	free(*s);
	*s = NULL;
}

/* ---- afterwards ---- */

static bool may_go_ahead(const struct pop3 *p)
{
	return p->server.pipelining && !p->cfg.glued_dot &&
		p->cfg.pipelining == POP3_PIPELINE_AUTO;
}

static enum status canary_send(struct pop3 *p, bool capa, struct err *err)
{
	p->listing = p->cfg.lists;
	return conn_sendf(p->c, err, "%sNOOP\r\nNOOP\r\n%s%s", capa ? "CAPA\r\n" : "",
		p->cfg.lists && quit_asks_last(p) ? "LAST\r\n" : "",
		p->listing ? list_commands(p) : "");
}

static enum status hear_last(struct pop3 *p, int patience, struct err *err)
{
	struct reply r;
	enum status st = talk_reply(p, &r, "LAST", patience, err);

	p->last_said = st == ST_OK;
	p->no_last = st == ST_OK && r.kind == REPLY_ERR;
	return st;
}

/*
 * Some servers offer PIPELINING and answer the first command only (quirk
 * Q60), so it is tried where nothing can be lost; together with what would come
 * next anyway.
 */
static enum status canary_hear(struct pop3 *p, bool capa, struct err *err)
{
	int patience = p->cfg.reply_ms < CANARY_MS ? p->cfg.reply_ms : CANARY_MS;
	bool last = p->cfg.lists && quit_asks_last(p);
	enum status st = ST_OK;
	struct reply r;
	int i;

	if (capa)
		st = session_hear_capa(p, patience, err);
	for (i = 0; i < 2 && st == ST_OK; i++) {
		st = talk_reply(p, &r, "NOOP", patience, err);
		if (st == ST_OK && r.kind != REPLY_OK)
			st = talk_odd(p, &r, "NOOP", err);
	}
	if (st == ST_OK && last)
		st = hear_last(p, patience, err);
	if (st == ST_OK && !p->listing)
		st = talk_settled(p, err);
	p->ahead = st == ST_OK && p->server.pipelining;
	p->ahead_failed = st != ST_OK;
	return st;
}

static enum status canary(struct pop3 *p, bool capa, struct err *err)
{
	enum status st = talk_settled(p, err);

	if (st == ST_OK)
		st = canary_send(p, capa, err);
	if (st == ST_OK)
		return canary_hear(p, capa, err);
	p->ahead_failed = true;
	return st;
}

/* ---- all at once ---- */

bool login_goes_ahead(const struct pop3 *p)
{
	return p->dovecot && p->cfg.lists && !p->cfg.no_capa && !p->cfg.glued_dot &&
		p->cfg.pipelining == POP3_PIPELINE_AUTO &&
		(p->cfg.auth == POP3_AUTH_AUTO || p->cfg.auth == POP3_AUTH_PLAIN);
}

/* The secret in the words of SASL, where it is one that goes in a single line. */
static bool one_line_token(const struct pop3 *p, struct buf *token)
{
	if (!p->user || !p->password || !*p->user || !*p->password ||
		strpbrk(p->user, "\r\n") || strpbrk(p->password, "\r\n"))
		return false;
	sasl_plain(p->user, p->password, token);
	return token->n <= COMMAND_MAX - strlen("AUTH PLAIN \r\n");
}

static enum status say_all(
	struct pop3 *p, bool capa, const char *token, struct err *err)
{
	enum status st = talk_settled(p, err);

	if (st == ST_OK)
		st = conn_sendf(p->c, err, "%sAUTH PLAIN ", capa ? "CAPA\r\n" : "");
	if (st == ST_OK)
		st = send_secret(p, token, err);
	return st == ST_OK ? canary_send(p, true, err) : st;
}

/*
 * Dovecot reads on behind a login, so that all that comes after it can be asked for
 * with it; and where the greeting is all that is known of it yet, what it can do as
 * well.
 */
static enum status login_with_all(struct pop3 *p, const char *token, struct err *err)
{
	bool capa = !p->server.has_capa, answered = false;
	enum status st = say_all(p, capa, token, err);

	if (st == ST_OK && capa)
		st = session_hear_capa(p, CANARY_MS, err);
	if (st == ST_OK && !p->server.sasl_plain) {
		conn_kill(p->c);
		st = err_set(err, ST_RETRY, EX_PROTOCOL,
			"%s greets as Dovecot, and does not offer PLAIN", p->where);
	}
	if (st == ST_OK)
		st = hear_verdict(p, "AUTH PLAIN", token, &answered, err);
	if (st == ST_OK)
		return canary_hear(p, true, err);
	p->ahead_failed = !answered;
	return st;
}

static bool try_with_all(struct pop3 *p, enum status *st, struct err *err)
{
	struct buf token = BUF_INIT(4 * PLAIN_MAX);
	bool yes = login_goes_ahead(p) &&
		(!p->server.has_capa ||
			(p->server.pipelining && choose(p) == POP3_AUTH_PLAIN &&
				p->server.sasl_plain)) &&
		one_line_token(p, &token);

	if (yes)
		*st = login_with_all(p, buf_str(&token), err);
	if (token.p)
		explicit_bzero(token.p, token.n);
	buf_free(&token);
	return yes;
}

enum status pop3_login(struct pop3 *p, struct err *err)
{
	enum status st;

	if (try_with_all(p, &st, err)) {
		wipe(&p->password);
		return st;
	}
	/* It was to be asked with the login. */
	st = p->skipped_capa ? session_capa(p, err) : ST_OK;
	if (st == ST_OK)
		st = prove(p, err);
	wipe(&p->password);
	if (st != ST_OK)
		return st;
	if (may_go_ahead(p))
		return canary(p, true, err);
	st = session_capa(p, err);
	if (st == ST_OK && may_go_ahead(p))
		st = canary(p, false, err);
	return st;
}
