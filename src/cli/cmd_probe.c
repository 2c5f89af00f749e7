/*
 * cmd_probe.c: what a server offers, and what is wrong when it does not answer.
 *
 * The most common trouble is a port and a TLS mode that do not fit, so when
 * connecting fails the same port is tried the other way, and what was found is
 * the error.
 */
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/imap.h>
#include <popferry/mem.h>
#include <popferry/net.h>
#include <popferry/pop3.h>
#include <popferry/text.h>

#include "cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PROBE_MS = 8000, /* for what was asked for */
	LOOK_MS = 5000,  /* for each look at what is wrong */
	FIRST_LINE_MAX = 1024,
	TEXT_MAX = 16 * 1024,
	INDENT = 12,
	COLUMNS = 79,
};

struct probe {
	const struct endpoint *end;
	const char *url;  /* as given */
	const char *side; /* "source" or "dest": names the options */
	struct net_config net;
	char *password; /* NULL: none configured */
	bool anonymous; /* the URL names no user */
	struct trace *trace;
	int for_all_ms, for_look_ms; /* PROBE_MS and LOOK_MS, or the timeout */
};

static bool wants_pop3(const struct probe *p)
{
	return text_starts(p->end->scheme, "pop3");
}

/* ---- rows of what is found ---- */

static void row(const char *name, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* "  name:    text", wrapped at blanks. */
static void row(const char *name, const char *fmt, ...)
{
	char text[TEXT_MAX];
	const char *p = text;
	size_t column, n;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	column = (size_t)printf("  %s:%*s", name, INDENT - 3 - (int)strlen(name), "");
	while (*p) {
		n = strcspn(p, " ");
		if (column > INDENT && column + 1 + n > COLUMNS)
			column = (size_t)printf("\n%*s", INDENT, "") - 1;
		else if (column > INDENT)
			column += (size_t)printf(" ");
		column += (size_t)printf("%.*s", (int)n, p);
		p += n + (p[n] == ' ');
	}
	printf("\n");
}

static void row_words(const char *name, const char *const *words, size_t n)
{
	struct buf b = BUF_INIT(TEXT_MAX - 1);
	size_t i;

	for (i = 0; i < n; i++)
		buf_addf(&b, "%s%s", i ? ", " : "", words[i]);
	row(name, "%s", n ? buf_str(&b) : "nothing is told");
	buf_free(&b);
}

static void show_tls(const struct tls_info *t)
{
	if (!t) {
		row("TLS", "none: password and mail cross the network in the clear");
		return;
	}
	row("TLS", "%s, %s", t->version, t->cipher);
	row("subject", "%s", t->subject);
	row("issuer", "%s", t->issuer);
	row("expires", "%s", t->not_after);
	row("pin", "%s", t->pin);
}

/* Without "* OK" and "[CAPABILITY ...]", which are for programs. */
static const char *bare_greeting(const char *s)
{
	const char *close;

	if (text_starts(s, "* OK "))
		s += strlen("* OK ");
	close = *s == '[' ? strchr(s, ']') : NULL;
	return close ? close + 1 + (close[1] == ' ') : s;
}

static void show_server(const char *peer, const char *greeting,
	const struct tls_info *tls, const char *const *offers, size_t n)
{
	char clean[FIRST_LINE_MAX];
	const char *says = bare_greeting(greeting ? greeting : "");

	row("peer", "%s", peer);
	if (*says)
		row("says", "%s", text_clean(clean, sizeof(clean), says, strlen(says)));
	show_tls(tls);
	row_words("offers", offers, n);
}

static void show_notes(const char *notes)
{
	if (notes && *notes)
		row("notes", "%s", notes);
}

/* True when there is a password to try. */
static bool may_log_in(const struct probe *p)
{
	if (p->password)
		return true;
	if (p->anonymous)
		row("login", "not tried, because the URL names no user");
	else
		row("login", "not tried; give --%s-password-file to try it", p->side);
	return false;
}

/* ---- diagnosis ---- */

/* What one look at the port found. */
struct look {
	enum tls_mode mode;
	const char *who; /* NULL: there was no first line; err has the reason */
	bool silent;     /* because nothing came in all that time */
	char said[80];
	struct err err;
};

/* What a first line says of who is talking. */
static const char *speaker(const char *line, size_t n)
{
	static const struct {
		const char *start, *who;
	} kinds[] = {
		{ "+OK", "a POP3 server" },
		{ "-ERR", "a POP3 server" },
		{ "* OK", "an IMAP server" },
		{ "* PREAUTH", "an IMAP server" },
		{ "* BYE", "an IMAP server" },
		{ "220", "an SMTP or FTP server" },
		{ "554", "an SMTP server" },
		{ "HTTP/", "a web server" },
		{ "SSH-", "an SSH server" },
	};
	size_t i;

	for (i = 0; i < N_ELEMENTS(kinds); i++)
		if (n >= strlen(kinds[i].start) &&
			text_same_n(line, kinds[i].start, strlen(kinds[i].start)))
			return kinds[i].who;
	return "something else";
}

/* Connects in this mode and reads the first line. */
static void look_at(const struct probe *p, enum tls_mode mode, struct look *l)
{
	struct net_config net = p->net;
	struct conn *c = NULL;
	int64_t began = clock_ms();
	const char *line;
	size_t n;

	*l = (struct look){ .mode = mode, .err = ERR_INIT };
	net.tls = mode;
	net.connect_ms = p->for_look_ms;
	if (conn_dial(&c, &net, &l->err) == ST_OK) {
		conn_patience(c, p->for_look_ms);
		if (conn_line(c, FIRST_LINE_MAX, &line, &n, &l->err) == ST_OK) {
			l->who = speaker(line, n);
			text_clean(l->said, sizeof(l->said), line, n);
		}
	}
	l->silent = !l->who && clock_ms() - began >= p->for_look_ms;
	conn_close(&c);
}

/* The URL as given, with another scheme and the port spelt out. */
static char *respell(const struct probe *p, const char *scheme)
{
	const char *rest = strstr(p->url, "://") + 3;
	size_t n = strcspn(rest, "/"), user = n;
	bool six = strchr(p->net.host, ':') != NULL;

	while (user && rest[user - 1] != '@')
		user--;
	return xasprintf("%s://%.*s%s%s%s:%u%s", scheme, (int)user, rest,
		six ? "[" : "", p->net.host, six ? "]" : "", p->net.port, rest + n);
}

static const char *scheme_for(const struct probe *p, enum tls_mode mode)
{
	if (mode == TLS_IMPLICIT)
		return wants_pop3(p) ? "pop3s" : "imaps";
	return wants_pop3(p) ? "pop3" : "imap";
}

/* The port has the right server, but TLS comes at another moment. */
static void other_mode(const struct probe *p, enum tls_mode mode, struct err *err)
{
	const char *scheme = scheme_for(p, mode);
	char *url = respell(p, scheme);
	/* An option that overrides the scheme would do so again. */
	bool overridden = text_same(scheme, p->end->scheme);

	err_set(err, ST_DENIED, EX_UNAVAILABLE,
		mode == TLS_IMPLICIT
			? "port %u of %s speaks TLS from the first byte; use %s%s%s"
			: "port %u of %s speaks plain text first, and TLS comes by STARTTLS "
			  "if at all; use %s%s%s",
		p->net.port, p->net.host, url, overridden ? " without --" : "",
		overridden ? (wants_pop3(p) ? "source-tls" : "dest-tls") : "");
	free(url);
}

static const char *wanted(const struct probe *p)
{
	return wants_pop3(p) ? "a POP3 server" : "an IMAP server";
}

static const char *usual_ports(const struct probe *p)
{
	return wants_pop3(p) ? "995 (pop3s) and 110 (pop3)"
			     : "993 (imaps) and 143 (imap)";
}

static void other_server(const struct probe *p, const struct look *l, struct err *err)
{
	err_set(err, ST_DENIED, EX_PROTOCOL,
		"port %u of %s is %s, not %s (it said \"%s\"); the usual ports are %s",
		p->net.port, p->net.host, l->who, wanted(p), l->said, usual_ports(p));
}

/* True, and err says so, when this look explains the trouble. */
static bool explains(const struct probe *p, const struct look *l, struct err *err)
{
	bool as_asked = (l->mode == TLS_IMPLICIT) == (p->net.tls == TLS_IMPLICIT);
	char more[ERR_TEXT];

	if (l->who && !text_same(l->who, wanted(p))) {
		other_server(p, l, err);
	} else if (as_asked) {
		return false;
	} else if (l->who) {
		other_mode(p, l->mode, err);
	} else if (l->mode == TLS_IMPLICIT && l->err.exit == EX_NOPERM) {
		/* A refused certificate proves TLS, and is its own finding. */
		other_mode(p, l->mode, err);
		snprintf(more, sizeof(more), "%s", err->text);
		err_set(err, ST_DENIED, EX_NOPERM, "%s; and %s", more, l->err.text);
	} else {
		return false;
	}
	return true;
}

/* A port that is there, and speaks to nobody. */
static void explain_silence(const struct probe *p, const struct look *tls,
	const struct look *plain, struct err *err)
{
	if (plain->silent && tls->silent)
		err_set(err, ST_DENIED, EX_TEMPFAIL,
			"port %u of %s says nothing, neither with TLS nor without: is it the "
			"right port, and does a firewall hold back what comes?",
			p->net.port, p->net.host);
	else if (plain->silent && tls->err.status == ST_DENIED)
		err_set(err, ST_DENIED, EX_PROTOCOL,
			"port %u of %s waits to be spoken to, as no mail server does (a web "
			"server?); the usual ports are %s",
			p->net.port, p->net.host, usual_ports(p));
}

/* Looks at the port both ways; err becomes what is found, or stays. */
static void diagnose(const struct probe *p, struct err *err)
{
	bool implicit = p->net.tls == TLS_IMPLICIT;
	/* A server that answered in a wrong way will do so again, at once. */
	bool tls_first = implicit == (err->exit == EX_PROTOCOL);
	struct look look[2]; /* TLS from the first byte; plain text */

	if (err->exit == EX_NOHOST)
		return;
	look_at(p, tls_first ? TLS_IMPLICIT : TLS_NONE, &look[!tls_first]);
	if (explains(p, &look[!tls_first], err))
		return;
	look_at(p, tls_first ? TLS_NONE : TLS_IMPLICIT, &look[tls_first]);
	if (!explains(p, &look[tls_first], err))
		explain_silence(p, &look[0], &look[1], err);
}

/* ---- the dialogues ---- */

/* What it does with mail and logins, as far as it says. */
static void show_habits(const struct pop3_server *s)
{
	if (s->expire && strcmp(s->expire, "0") == 0)
		row("expires",
			"it may delete messages once they were fetched (EXPIRE 0)");
	else if (s->expire && text_same(s->expire, "NEVER"))
		row("expires", "never: mail stays until it is deleted (EXPIRE NEVER)");
	else if (s->expire)
		row("expires", "messages are deleted after so many days: %s (EXPIRE)",
			s->expire);
	if (s->login_delay)
		row("pause", "%u second%s between logins (LOGIN-DELAY)", s->login_delay,
			text_s(s->login_delay));
}

static enum status probe_pop3(const struct probe *p, struct err *err)
{
	const struct pop3_config cfg = {
		.net = p->net,
		.user = p->end->user,
		.password = p->password,
		.auth = (enum pop3_auth)p->end->pop3.auth,
		.pipelining = p->end->pop3.no_pipelining ? POP3_PIPELINE_NO
							 : POP3_PIPELINE_AUTO,
		.greeting_ms = p->for_all_ms,
	};
	const struct pop3_server *s;
	struct pop3_listing l;
	struct pop3 *pop3 = NULL;
	char bytes[16];
	enum status rc = pop3_connect(&pop3, &cfg, err);

	if (rc != ST_OK)
		return rc;
	s = pop3_server(pop3);
	show_server(s->peer, s->greeting, s->tls, s->capa, s->n_capa);
	show_notes(p->end->pop3.notes);
	if (!may_log_in(p))
		goto out;
	rc = pop3_login(pop3, err);
	if (rc != ST_OK)
		goto out;
	s = pop3_server(pop3);
	row("login", "accepted for %s", p->end->user);
	row_words("then", s->capa, s->n_capa);
	rc = pop3_list(pop3, &l, err);
	if (rc != ST_OK)
		goto out;
	row("maildrop", "%zu message%s, %s; UIDL %s, pipelining %s", l.n, text_s(l.n),
		text_bytes(bytes, l.octets), l.uidl ? "works" : "does not work",
		s->pipelining ? "works" : "is not used");
	show_habits(s);
	if (l.repeated || l.unreadable)
		row("oddities",
			"%zu message%s with a repeated UIDL, %zu row%s no sense",
			l.repeated, text_s(l.repeated), l.unreadable,
			l.unreadable == 1 ? " that makes" : "s that make");
	row("hint",
		"POP3 shows one folder, mostly the INBOX; if the host offers IMAP too, "
		"the other folders are there");
	rc = pop3_quit(pop3, err);
out:
	pop3_close(&pop3);
	return rc;
}

static enum status probe_imap(const struct probe *p, struct err *err)
{
	const struct imap_config cfg = {
		.net = p->net,
		.user = p->end->user,
		.password = p->password,
		.auth = (enum imap_auth)p->end->imap.auth,
		.greeting_ms = p->for_all_ms,
	};
	const struct imap_server *s;
	struct imap *imap = NULL;
	char bytes[16], limit[48];
	enum status rc = imap_connect(&imap, &cfg, err);

	if (rc != ST_OK)
		return rc;
	s = imap_server(imap);
	show_server(s->peer, s->greeting, s->tls, s->capability, s->n_capability);
	show_notes(p->end->imap.notes);
	if (!may_log_in(p))
		goto out;
	rc = imap_login(imap, err);
	if (rc != ST_OK)
		goto out;
	s = imap_server(imap);
	row("login", "accepted for %s", p->end->user);
	row_words("then", s->capability, s->n_capability);
	if (s->delimiter)
		row("folders", "prefix \"%s\", delimiter \"%c\"", s->prefix,
			s->delimiter);
	else
		row("folders",
			"prefix \"%s\", no delimiter: it has no folders in folders",
			s->prefix);
	snprintf(limit, sizeof(limit), ", messages up to %s",
		text_bytes(bytes, s->append_limit));
	row("upload", "%s%s%s%s",
		s->multiappend ? "MULTIAPPEND" : "one APPEND a message",
		s->literal_plus            ? ", LITERAL+"
			: s->literal_minus ? ", LITERAL-"
					   : ", waiting for each",
		s->append_limit ? limit : "",
		s->uidplus ? ", receipts by UIDPLUS" : "");
out:
	imap_close(&imap);
	return rc;
}

/* ---- the command ---- */

static bool is_server(const char *url)
{
	static const char *const schemes[] = { "pop3s:", "pop3:", "imaps:", "imap:" };
	size_t i;

	for (i = 0; i < N_ELEMENTS(schemes); i++)
		if (text_same_n(url, schemes[i], strlen(schemes[i])))
			return true;
	return false;
}

/* Settings for the one end: the URL's user may be left out here. */
static enum status make_end(struct cli *c, struct probe *p, struct err *err)
{
	const char *rest = strstr(p->url, "://");
	char *full;
	enum status rc;

	if (!is_server(p->url))
		return err_set(err, ST_DENIED, EX_USAGE,
			"URL: only servers can be probed: pop3s://host, pop3://host, "
			"imaps://host or imap://host; for an archive use `popferry verify`");
	p->side = text_same_n(p->url, "imap", 4) ? "dest" : "source";
	p->anonymous = rest && !memchr(rest + 3, '@', strcspn(rest + 3, "/"));
	/* A user that suits every profile, and is never sent. */
	full = p->anonymous ? xasprintf("%.*s://anonymous@host.invalid@%s",
				      (int)(rest - p->url), p->url, rest + 3)
			    : xstrdup(p->url);
	rc = job_set(c->job, p->side, full, "URL", err);
	free(full);
	if (rc == ST_OK)
		rc = job_check_ends(c->job, err);
	if (rc != ST_OK)
		return rc;
	p->end = p->side[0] == 's' ? &c->job->source : &c->job->dest[0];
	return ST_OK;
}

static bool has_secret(const struct secret *s)
{
	return s->file || s->command || s->env;
}

static const char *mode_text(enum tls_mode m)
{
	return m == TLS_IMPLICIT    ? "TLS from the first byte"
		: m == TLS_STARTTLS ? "TLS by STARTTLS"
				    : "no TLS";
}

static enum status run_probe(struct cli *c, struct probe *p, struct err *err)
{
	enum status rc = make_end(c, p, err);

	if (rc == ST_OK && !p->anonymous && has_secret(&p->end->secret))
		rc = secret_get(&p->end->secret, p->side, &p->password, err);
	if (rc == ST_OK && c->job->trace)
		rc = trace_open(&p->trace, c->job->trace, err);
	if (rc != ST_OK)
		return rc;
	p->for_all_ms = p->for_look_ms = (int)c->job->timeout * 1000;
	if (!c->job->timeout) {
		p->for_all_ms = PROBE_MS;
		p->for_look_ms = LOOK_MS;
	}
	p->net = (struct net_config){
		.host = p->end->host,
		.port = p->end->port,
		.tls = p->end->tls,
		.tls_min = p->end->tls_min,
		.ca_file = p->end->ca_file,
		.pin = p->end->pin,
		.name = p->side,
		.connect_ms = p->for_all_ms,
		.trace = p->trace,
	};
	printf("%s (port %u, %s)\n", p->url, p->net.port, mode_text(p->net.tls));
	fflush(stdout);
	rc = wants_pop3(p) ? probe_pop3(p, err) : probe_imap(p, err);
	if (rc != ST_OK && !(rc == ST_DENIED && err->exit == EX_NOPERM))
		diagnose(p, err);
	fflush(stdout);
	return rc;
}

int cmd_probe(struct cli *c, struct err *err)
{
	struct probe p = { 0 };
	enum status rc;

	if (c->n_args == 1) {
		p.url = c->args[0];
		rc = run_probe(c, &p, err);
	} else {
		rc = err_set(err, ST_DENIED, EX_USAGE,
			"probe needs one URL; try `popferry probe --help`");
	}
	if (p.password)
		explicit_bzero(p.password, strlen(p.password));
	free(p.password);
	trace_close(&p.trace);
	if (rc != ST_OK) {
		cli_complain(c, err);
		return err->exit;
	}
	return 0;
}
