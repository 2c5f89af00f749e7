/* url.c: the two ends of the ferry as URLs (RFC 2384, RFC 5092). */
#include "own.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HOST_MAX = 253, LABEL_MAX = 63 };

static const struct scheme schemes[] = {
	{ "pop3s", true, true, false, TLS_IMPLICIT, 995, 110, NULL, NULL },
	{ "pop3", true, true, false, TLS_STARTTLS, 995, 110, NULL, NULL },
	{ "imaps", true, false, true, TLS_IMPLICIT, 993, 143, NULL, NULL },
	{ "imap", true, false, true, TLS_STARTTLS, 993, 143, NULL, NULL },
	{ "archive", false, true, true, TLS_NONE, 0, 0, "a directory", "DIR" },
	{ "maildir", false, true, false, TLS_NONE, 0, 0, "a directory", "DIR" },
	{ "mbox", false, true, false, TLS_NONE, 0, 0, "a file", "FILE" },
	{ "eml", false, true, false, TLS_NONE, 0, 0, "a file or directory", "FILE" },
	{ "zip", false, true, false, TLS_NONE, 0, 0, "a file", "FILE" },
	{ "tar", false, true, false, TLS_NONE, 0, 0, "a file", "FILE" },
	{ "null", false, false, true, TLS_NONE, 0, 0, NULL, NULL },
};

const struct scheme *scheme_find(const char *name, size_t n)
{
	size_t i;

	for (i = 0; i < N_ELEMENTS(schemes); i++)
		if (strlen(schemes[i].name) == n &&
			text_same_n(schemes[i].name, name, n))
			return &schemes[i];
	return NULL;
}

/*
 * No text of these errors repeats the URL: somebody may have written a
 * password into it.
 */
static enum status bad(struct err *err, const char *text)
{
	return err_set(err, ST_DENIED, EX_USAGE, "%s", text);
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static enum status decode(
	const char *p, size_t n, const char *part, char **out, struct err *err)
{
	char *s = xmalloc(n + 1);
	size_t i, len = 0;

	for (i = 0; i < n; i++) {
		int c = (unsigned char)p[i];

		if (c == '%') {
			int hi = i + 1 < n ? hex(p[i + 1]) : -1;
			int lo = i + 2 < n ? hex(p[i + 2]) : -1;

			if (hi < 0 || lo < 0) {
				free(s);
				return err_set(err, ST_DENIED, EX_USAGE,
					"in the %s of the URL a \"%%\" is not followed "
					"by two hex digits; write %%25 for \"%%\"",
					part);
			}
			c = hi << 4 | lo;
			i += 2;
		}
		s[len++] = (char)c;
	}
	s[len] = '\0';
	if (has_control(s, len)) {
		free(s);
		return err_set(err, ST_DENIED, EX_USAGE,
			"the %s of the URL holds control characters", part);
	}
	*out = s;
	return ST_OK;
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		(c >= '0' && c <= '9');
}

const char *host_fault(const char *host, size_t n)
{
	struct in6_addr six;
	char copy[HOST_MAX + 1];
	size_t i, label = 0;

	if (!n)
		return "it is empty";
	if (n > HOST_MAX)
		return "it is over 253 bytes long";
	memcpy(copy, host, n);
	copy[n] = '\0';
	if (memchr(host, ':', n))
		return strlen(copy) == n && inet_pton(AF_INET6, copy, &six) == 1
			? NULL
			: "it is not an IPv6 address";
	for (i = 0; i < n; i++) {
		label = host[i] == '.' ? 0 : label + 1;
		if ((unsigned char)host[i] >= 0x80)
			return "names outside ASCII are written in their xn-- form";
		if (!is_alnum(host[i]) && !memchr("-._", host[i], 3))
			return "only letters, digits, \"-\", \"_\" and \".\" are possible";
		if (label > LABEL_MAX)
			return "a part is over 63 bytes long";
		if (host[i] == '.' && (i == 0 || host[i - 1] == '.'))
			return "a part is empty";
	}
	return host[0] == '-' ? "it starts with \"-\"" : NULL;
}

static enum status parse_port(unsigned *out, const char *p, size_t n, struct err *err)
{
	char digits[8] = "";
	uint64_t v;

	if (n < sizeof(digits))
		memcpy(digits, p, n);
	if (n >= sizeof(digits) || !parse_number(digits, 1, 65535, &v))
		return bad(err,
			"the port of the URL must be a number from 1 to 65535 (an IPv6 "
			"address is written in brackets: [2001:db8::1])");
	*out = (unsigned)v;
	return ST_OK;
}

/* "host", "host:port", "[v6]", "[v6]:port" */
static enum status parse_host(
	struct endpoint *e, const char *p, size_t n, struct err *err)
{
	const char *end, *fault, *host = p;
	size_t host_n;
	bool six = n && *p == '[';

	end = memchr(p, six ? ']' : ':', n);
	if (six && !end)
		return bad(err, "the \"[\" of an IPv6 address has no \"]\"");
	host += six;
	host_n = end ? (size_t)(end - host) : n;
	if (six)
		end++;
	fault = six && !memchr(host, ':', host_n) ? "it is not an IPv6 address"
						  : host_fault(host, host_n);
	if (fault)
		return err_set(
			err, ST_DENIED, EX_USAGE, "the host of the URL: %s", fault);
	e->host = xmemdup0(host, host_n);
	n -= end ? (size_t)(end - p) : n;
	if (!n)
		return ST_OK;
	if (*end != ':')
		return bad(err, "after the \"]\" of the host only a port can follow");
	return parse_port(&e->port, end + 1, n - 1, err);
}

static bool contains(const char *p, size_t n, const char *word)
{
	size_t len = strlen(word), i;

	for (i = 0; i + len <= n; i++)
		if (text_same_n(p + i, word, len))
			return true;
	return false;
}

static enum status parse_user(
	struct endpoint *e, const char *p, size_t n, struct err *err)
{
	enum status rc;

	if (memchr(p, ':', n))
		return bad(err,
			"the URL holds a password, which everybody on this machine can "
			"read; put it into a file for --source-password-file or "
			"--dest-password-file (write a \":\" in a user name as %3A)");
	if (contains(p, n, ";AUTH="))
		return bad(err,
			"\";AUTH=\" in the URL is not understood; the key auth of a "
			"profile says how to log in");
	rc = decode(p, n, "user", &e->user, err);
	if (rc >= 0 && !*e->user)
		return bad(err, "the user of the URL is empty; write user@host");
	return rc;
}

static enum status parse_folder(
	struct endpoint *e, const struct scheme *s, const char *p, struct err *err)
{
	size_t n;

	p += strspn(p, "/");
	n = strlen(p);
	while (n && p[n - 1] == '/')
		n--;
	if (!n)
		return ST_OK;
	if (!s->dest)
		return bad(err,
			"a POP3 mailbox has no folders; end the URL after the host");
	if (memchr(p, ';', n))
		return bad(err,
			"\";UIDVALIDITY=\" and other parameters are not possible in the "
			"URL of a destination (write a \";\" in a folder name as %3B)");
	return decode(p, n, "folder", &e->folder, err);
}

static enum status parse_network(
	struct endpoint *e, const struct scheme *s, const char *p, struct err *err)
{
	const char *at = NULL;
	size_t n, i;
	enum status rc;

	if (strncmp(p, "//", 2))
		return err_set(err, ST_DENIED, EX_USAGE,
			"expected %s://user@host, with two slashes", s->name);
	p += 2;
	n = strcspn(p, "/");
	/* People write user@domain@host: the last one divides. */
	for (i = 0; i < n; i++)
		if (p[i] == '@')
			at = p + i;
	if (!at)
		return err_set(err, ST_DENIED, EX_USAGE,
			"the URL names no user; write %s://user@host", s->name);
	rc = parse_user(e, p, (size_t)(at - p), err);
	if (rc < 0)
		return rc;
	if (strpbrk(at, "?#"))
		return bad(err, "\"?\" and \"#\" in a URL are written as %3F and %23");
	rc = parse_host(e, at + 1, n - (size_t)(at + 1 - p), err);
	return rc < 0 ? rc : parse_folder(e, s, p + n, err);
}

/* A path as it is, without percent-encoding: shells complete it. */
static enum status parse_path(
	struct endpoint *e, const struct scheme *s, const char *p, struct err *err)
{
	if (!s->source) {
		if (*p)
			return bad(err, "null: is nowhere: nothing can follow it");
		return ST_OK;
	}
	if (!strncmp(p, "//", 2)) {
		p += 2;
		if (*p != '/')
			return err_set(err, ST_DENIED, EX_USAGE,
				"%s: has no host: write %s:%s or %s:///absolute/%s",
				s->name, s->name, s->place, s->name, s->place);
	}
	if (!*p)
		return err_set(err, ST_DENIED, EX_USAGE, "%s: needs %s, as in %s:%s",
			s->name, s->what, s->name, s->place);
	e->path = xstrdup(p);
	return ST_OK;
}

enum status url_parse(struct endpoint *e, const char *text, struct err *err)
{
	struct endpoint u = { 0 };
	const struct scheme *s;
	size_t n = strlen(text);
	enum status rc;

	if (n > VALUE_MAX)
		return err_set(err, ST_DENIED, EX_USAGE,
			"the URL is over %d bytes long", VALUE_MAX);
	if (has_control(text, n))
		return bad(err, "the URL holds control characters");
	n = strcspn(text, ":");
	s = text[n] ? scheme_find(text, n) : NULL;
	if (!s)
		return bad(err,
			"expected pop3s://user@host, pop3://user@host, "
			"imaps://user@host/Folder, imap://user@host/Folder, "
			"archive:DIR, or for mail to be read maildir:DIR, mbox:FILE, "
			"eml:FILE, zip:FILE or tar:FILE");
	rc = s->network ? parse_network(&u, s, text + n + 1, err)
			: parse_path(&u, s, text + n + 1, err);
	if (rc < 0) {
		endpoint_release(&u);
		return rc;
	}
	free(e->url);
	free(e->scheme);
	free(e->user);
	free(e->host);
	free(e->folder);
	free(e->path);
	e->url = xstrdup(text);
	e->scheme = xstrdup(s->name);
	e->user = u.user;
	e->host = u.host;
	e->port = u.port;
	e->folder = u.folder;
	e->path = u.path;
	e->tls = s->tls;
	return ST_OK;
}

void secret_release(struct secret *s)
{
	free(s->file);
	free(s->command);
	free(s->env);
	if (s->text)
		explicit_bzero(s->text, strlen(s->text));
	free(s->text);
	*s = (struct secret){ 0 };
}

void endpoint_release(struct endpoint *e)
{
	free(e->url);
	free(e->scheme);
	free(e->user);
	free(e->host);
	free(e->folder);
	free(e->path);
	while (e->n_only)
		free(e->only[--e->n_only]);
	free(e->only);
	free(e->ca_file);
	free(e->pin);
	secret_release(&e->secret);
	pop3_facts_release(&e->pop3);
	imap_facts_release(&e->imap);
	*e = (struct endpoint){ 0 };
}
