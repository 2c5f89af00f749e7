/*
 * cmd_probe.c: what a server offers, and what is wrong when it does not answer.
 *
 * The most common trouble is a port and a TLS mode that do not fit, so when
 * connecting fails the same port is tried the other way and the finding said.
 */
#include <popferry/buf.h>
#include <popferry/imap.h>
#include <popferry/mem.h>
#include <popferry/net.h>
#include <popferry/pop3.h>
#include <popferry/text.h>

#include "cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROBE_MS = 8000, FIRST_LINE_MAX = 1024 };

struct probe {
	const struct endpoint *end;
	const char *side; /* "source" or "dest": names the options */
	struct net_config net;
	char *password; /* NULL: none configured */
	bool anonymous; /* the URL names no user */
	struct trace *trace;
};

/* ---- diagnosis ---------------------------------------------------------------- */

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
		{ "HTTP/", "a web server" },
		{ "SSH-", "an SSH server" },
	};
	size_t i;

	for (i = 0; i < N_ELEMENTS(kinds); i++)
		if (n >= strlen(kinds[i].start) &&
			text_same_n(line, kinds[i].start, strlen(kinds[i].start)))
			return kinds[i].who;
	return "something that is no mail server";
}

/* Connects in this mode and reads the first line; who speaks, or NULL. */
static const char *who_speaks(
	const struct probe *p, enum tls_mode mode, struct err *why)
{
	struct net_config net = p->net;
	const char *line, *who = NULL;
	struct conn *c = NULL;
	size_t n;

	net.tls = mode;
	net.connect_ms = PROBE_MS;
	if (conn_dial(&c, &net, why) == ST_OK) {
		conn_patience(c, PROBE_MS);
		if (conn_line(c, FIRST_LINE_MAX, &line, &n, why) == ST_OK)
			who = speaker(line, n);
	}
	conn_close(&c);
	return who;
}

static bool wants_pop3(const struct probe *p)
{
	return text_starts(p->end->scheme, "pop3");
}

static void advise_mode(const struct probe *p, const char *who, enum tls_mode mode)
{
	const char *mine = wants_pop3(p) ? "a POP3 server" : "an IMAP server";
	const char *scheme = wants_pop3(p) ? (mode == TLS_IMPLICIT ? "pop3s" : "pop3")
		: mode == TLS_IMPLICIT     ? "imaps"
					   : "imap";

	if (strcmp(who, mine) != 0) {
		printf("  finding: port %u of %s is %s, not %s; the usual ports are %s\n",
			p->net.port, p->net.host, who, mine,
			wants_pop3(p) ? "995 (TLS) and 110 (STLS)"
				      : "993 (TLS) and 143 (STARTTLS)");
		return;
	}
	if (mode == p->net.tls || (mode == TLS_NONE && p->net.tls == TLS_STARTTLS))
		return;
	printf("  finding: port %u of %s speaks %s\n", p->net.port, p->net.host,
		mode == TLS_IMPLICIT
			? "TLS from the first byte"
			: "plain text first (TLS comes by STLS/STARTTLS, if at all)");
	printf("  change:  use %s://%s@%s:%u, or --%s-tls %s\n", scheme, p->end->user,
		p->net.host, p->net.port, p->side,
		mode == TLS_IMPLICIT ? "implicit" : "starttls");
}

/* Tries the port in both modes and says what it finds. */
static void diagnose(const struct probe *p, const struct err *why)
{
	static const enum tls_mode modes[] = { TLS_IMPLICIT, TLS_NONE };
	struct err tls = ERR_INIT, other = ERR_INIT;
	const char *who;
	size_t i;

	if (why->exit == EX_NOHOST || why->exit == EX_UNAVAILABLE)
		if (who_speaks(p, TLS_NONE, &other) == NULL && other.exit == why->exit)
			return; /* nothing listens: the error says it all */
	for (i = 0; i < N_ELEMENTS(modes); i++) {
		who = who_speaks(p, modes[i], modes[i] == TLS_IMPLICIT ? &tls : &other);
		if (who) {
			advise_mode(p, who, modes[i]);
			return;
		}
		/* A refused certificate proves TLS, and is its own finding. */
		if (modes[i] == TLS_IMPLICIT && tls.exit == EX_NOPERM) {
			if (p->net.tls != TLS_IMPLICIT) {
				advise_mode(p,
					wants_pop3(p) ? "a POP3 server"
						      : "an IMAP server",
					TLS_IMPLICIT);
				printf("  finding: %s\n", tls.text);
			}
			return;
		}
	}
	printf("  finding: something accepts connections on port %u of %s and says nothing "
	       "that popferry knows\n",
		p->net.port, p->net.host);
}

/* ---- what is found ----------------------------------------------------------------
 */

static void show_tls(const struct tls_info *t)
{
	if (!t) {
		printf("  tls:     none: passwords and mail would cross the network in the clear\n");
		return;
	}
	printf("  tls:     %s, %s\n  subject: %s\n  issuer:  %s\n  expires: %s\n"
	       "  pin:     %s\n",
		t->version, t->cipher, t->subject, t->issuer, t->not_after, t->pin);
}

static void show_words(const char *name, const char *const *words, size_t n)
{
	size_t i;

	printf("  %s", name);
	for (i = 0; i < n; i++)
		printf("%s%s", i ? ", " : "", words[i]);
	printf("%s\n", n ? "" : "none told");
}

static void show_notes(const char *notes)
{
	if (notes && *notes)
		printf("  notes:   %s\n", notes);
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
		.greeting_ms = PROBE_MS,
	};
	const struct pop3_server *s;
	struct pop3_listing l;
	struct pop3 *pop3 = NULL;
	char bytes[16];
	enum status rc = pop3_connect(&pop3, &cfg, err);

	if (rc != ST_OK)
		return rc;
	s = pop3_server(pop3);
	printf("  peer:    %s\n  says:    %s\n", s->peer, s->greeting);
	show_tls(s->tls);
	show_words("offers:  ", s->capa, s->n_capa);
	show_notes(p->end->pop3.notes);
	if (!p->password) {
		printf("  login:   not tried, because no password is configured\n");
		goto out;
	}
	rc = pop3_login(pop3, err);
	if (rc != ST_OK)
		goto out;
	s = pop3_server(pop3);
	printf("  login:   accepted for %s\n", p->end->user);
	show_words("offers:  ", s->capa, s->n_capa);
	rc = pop3_list(pop3, &l, err);
	if (rc != ST_OK)
		goto out;
	printf("  maildrop: %zu messages, %s; UIDL %s, pipelining %s\n", l.n,
		text_bytes(bytes, l.octets), l.uidl ? "works" : "does not work",
		s->pipelining ? "works" : "is not used");
	if (l.repeated || l.unreadable)
		printf("  oddities: %zu messages with a repeated UIDL, %zu rows that make no "
		       "sense\n",
			l.repeated, l.unreadable);
	printf("  hint:    POP3 shows one folder, mostly the INBOX; if the host offers IMAP "
	       "too, the other folders are there\n");
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
		.greeting_ms = PROBE_MS,
	};
	const struct imap_server *s;
	struct imap *imap = NULL;
	char bytes[16];
	enum status rc = imap_connect(&imap, &cfg, err);

	if (rc != ST_OK)
		return rc;
	s = imap_server(imap);
	printf("  peer:    %s\n  says:    %s\n", s->peer, s->greeting);
	show_tls(s->tls);
	show_words("offers:  ", s->capability, s->n_capability);
	show_notes(p->end->imap.notes);
	if (!p->password) {
		printf("  login:   not tried, because no password is configured\n");
		goto out;
	}
	rc = imap_login(imap, err);
	if (rc != ST_OK)
		goto out;
	s = imap_server(imap);
	printf("  login:   accepted for %s\n", p->end->user);
	show_words("offers:  ", s->capability, s->n_capability);
	printf("  folders: prefix \"%s\", delimiter \"%.1s\"\n", s->prefix,
		s->delimiter ? (const char[]){ s->delimiter, '\0' } : "");
	printf("  upload:  %s%s",
		s->multiappend ? "MULTIAPPEND" : "one APPEND a message",
		s->literal_plus            ? ", LITERAL+"
			: s->literal_minus ? ", LITERAL-"
					   : ", waiting for each");
	if (s->append_limit)
		printf(", messages up to %s", text_bytes(bytes, s->append_limit));
	printf("%s\n", s->uidplus ? ", receipts by UIDPLUS" : "");
out:
	imap_close(&imap);
	return rc;
}

/* ---- the command --------------------------------------------------------------------
 */

/* Settings for the one end: the URL's user may be left out here. */
static enum status make_end(struct cli *c, struct probe *p, struct err *err)
{
	const char *url = c->args[0], *rest = strstr(url, "://");
	char *full;
	enum status rc;

	p->side = text_starts(url, "imap") ? "dest" : "source";
	p->anonymous = rest && !strchr(rest, '@');
	full = p->anonymous
		? xasprintf("%.*s://anonymous@%s", (int)(rest - url), url, rest + 3)
		: xstrdup(url);
	rc = job_set(c->job, p->side, full, "URL", err);
	free(full);
	if (rc == ST_OK)
		rc = job_check_ends(c->job, err);
	if (rc != ST_OK)
		return rc;
	p->end = p->side[0] == 's' ? &c->job->source : &c->job->dest[0];
	if (!p->end->host)
		return err_set(err, ST_DENIED, EX_USAGE,
			"%s: only servers can be probed; for an archive use `popferry verify`",
			url);
	return ST_OK;
}

static bool has_secret(const struct secret *s)
{
	return s->file || s->command || s->env;
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
	p->net = (struct net_config){
		.host = p->end->host,
		.port = p->end->port,
		.tls = p->end->tls,
		.ca_file = p->end->ca_file,
		.pin = p->end->pin,
		.name = p->side,
		.connect_ms = PROBE_MS,
		.trace = p->trace,
	};
	printf("%s, TLS %s\n", p->end->url, tls_mode_name(p->end->tls));
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

	if (c->n_args != 1)
		rc = err_set(err, ST_DENIED, EX_USAGE, "probe needs one URL");
	else
		rc = run_probe(c, &p, err);
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
