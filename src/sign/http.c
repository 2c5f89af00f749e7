/*
 * http.c: one question to a TSA over HTTP/1.1, and its answer.
 *
 * Just what RFC 3161 needs: POST, and a small body back by Content-Length, in chunks,
 * or as long as its DER says. No redirects: whoever is believed is named by the user.
 */
#include "own.h"

#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/net.h>
#include <popferry/text.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	HEAD_MAX = 16 * 1024, /* bytes of status line and fields */
	URL_MAX = 2048,
	DEADLINE_MS = 30 * 1000,
};

/* ---- the address ---- */

static bool plain(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s <= ' ' || (unsigned char)*s >= 127)
			return false;
	return true;
}

static bool host_and_port(struct http_url *u, const char *p, size_t n)
{
	const char *end = p + n, *colon, *host = p;
	unsigned long port = u->tls ? 443 : 80;
	char *stop;

	if (n && *p == '[') { /* an IPv6 address has colons of its own */
		colon = memchr(p, ']', n);
		if (!colon)
			return false;
		host = p + 1;
		n = (size_t)(colon++ - host);
	} else {
		colon = memchr(p, ':', n);
		colon = colon ? colon : end;
		n = (size_t)(colon - p);
	}
	if (colon < end) {
		if (*colon != ':' || colon[1] < '0' || colon[1] > '9')
			return false;
		port = strtoul(colon + 1, &stop, 10);
		if (stop != end || port < 1 || port > 65535)
			return false;
	}
	if (!n || n > 255)
		return false;
	u->host = xmemdup0(host, n);
	u->port = (unsigned)port;
	return true;
}

enum status http_url(struct http_url *out, const char *url, struct err *err)
{
	size_t skip = text_same_n(url, "https://", 8) ? 8
		: text_same_n(url, "http://", 7)      ? 7
						      : 0;
	const char *at = url + skip;
	size_t n = strcspn(at, "/?#");

	memset(out, 0, sizeof(*out));
	out->tls = skip == 8;
	if (!skip || strlen(url) > URL_MAX || !plain(url) || strchr(url, '#') ||
		memchr(at, '@', n) || !host_and_port(out, at, n))
		return err_set(err, ST_DENIED, EX_USAGE,
			"\"%.200s\" is no address of a TSA: expected one as in "
			"https://host/path",
			url);
	out->path = xasprintf("%s%s", at[n] == '/' ? "" : "/", at + n);
	return ST_OK;
}

void http_url_release(struct http_url *u)
{
	free(u->host);
	free(u->path);
	memset(u, 0, sizeof(*u));
}

/* ---- the answer ---- */

struct reading {
	const char *p, *end; /* what is not read yet */
};

static enum http_step bad(struct http_reply *r, const char *fault)
{
	r->fault = fault;
	return HTTP_BAD;
}

/* The next line without its end; false when it is not whole. */
static bool line(struct reading *in, const char **p, size_t *n)
{
	const char *lf = memchr(in->p, '\n', (size_t)(in->end - in->p));

	if (!lf)
		return false;
	*p = in->p;
	*n = (size_t)(lf - in->p);
	if (*n && (*p)[*n - 1] == '\r')
		--*n;
	in->p = lf + 1;
	return true;
}

static bool number(const char *p, size_t n, unsigned base, size_t *out)
{
	size_t i, v = 0;

	for (i = 0; i < n; i++) {
		unsigned c = (unsigned char)p[i];
		unsigned d = c >= '0' && c <= '9' ? c - '0'
			: c >= 'a' && c <= 'f'    ? c - 'a' + 10
			: c >= 'A' && c <= 'F'    ? c - 'A' + 10
						  : 99;

		if (d >= base || v > ANSWER_MAX)
			return false;
		v = v * base + d;
	}
	*out = v;
	return n > 0;
}

static bool status_line(struct http_reply *r, const char *p, size_t n)
{
	size_t v;

	if (n < 12 || !text_same_n(p, "HTTP/1.", 7) || p[8] != ' ' ||
		!number(p + 9, 3, 10, &v) || (n > 12 && p[12] != ' '))
		return false;
	r->status = (unsigned)v;
	text_clean(r->reason, sizeof(r->reason), p + 9, n - 9);
	return true;
}

struct framing {
	bool has_length, chunked;
	size_t length;
};

/* The value of "name: value" if it is of that name. */
static const char *value(const char *p, size_t n, const char *name, size_t *value_n)
{
	size_t k = strlen(name);

	if (n <= k || p[k] != ':' || !text_same_n(p, name, k))
		return NULL;
	for (k++; k < n && (p[k] == ' ' || p[k] == '\t'); k++)
		;
	while (n > k && (p[n - 1] == ' ' || p[n - 1] == '\t'))
		n--;
	*value_n = n - k;
	return p + k;
}

static bool field(struct http_reply *r, struct framing *f, const char *p, size_t n)
{
	const char *v;
	size_t k, was = f->length;

	if ((v = value(p, n, "content-length", &k))) {
		if (!number(v, k, 10, &f->length) || f->length > ANSWER_MAX ||
			(f->has_length && was != f->length))
			return false;
		f->has_length = true;
	} else if ((v = value(p, n, "transfer-encoding", &k))) {
		if (k != 7 || !text_same_n(v, "chunked", 7))
			return false;
		f->chunked = true;
	} else if ((v = value(p, n, "content-type", &k))) {
		const char *semicolon = memchr(v, ';', k);

		k = semicolon ? (size_t)(semicolon - v) : k;
		while (k && v[k - 1] == ' ')
			k--;
		text_clean(r->type, sizeof(r->type), v, k);
	} else if ((v = value(p, n, "location", &k))) {
		text_clean(r->location, sizeof(r->location), v, k);
	}
	return true;
}

/* Status line and fields; those of "100 Continue" and the like are passed over. */
static enum http_step head(
	struct http_reply *r, struct framing *f, struct reading *in, const char *start)
{
	const char *p;
	size_t n;

	do {
		memset(f, 0, sizeof(*f));
		if (!line(in, &p, &n))
			goto more;
		if (!status_line(r, p, n))
			return bad(r, "it does not speak HTTP/1");
		do {
			if (!line(in, &p, &n))
				goto more;
			if (n && !field(r, f, p, n))
				return bad(r,
					"its answer has a length or encoding that "
					"is not taken");
		} while (n);
	} while (r->status >= 100 && r->status < 200);
	return in->p - start > HEAD_MAX ? bad(r, "its answer begins with too much")
					: HTTP_WHOLE;
more:
	return in->end - start > HEAD_MAX ? bad(r, "its answer begins with too much")
					  : HTTP_MORE;
}

static enum http_step chunks(struct http_reply *r, struct reading *in)
{
	const char *p;
	size_t n, k;

	for (;;) {
		if (!line(in, &p, &n))
			return HTTP_MORE;
		if (!number(p,
			    memchr(p, ';', n)
				    ? (size_t)((const char *)memchr(p, ';', n) - p)
				    : n,
			    16, &k))
			return bad(r, "its answer has a broken chunk");
		if (!k)
			return HTTP_WHOLE;
		if (k > ANSWER_MAX)
			return bad(r, "its answer is too long");
		if ((size_t)(in->end - in->p) < k + 1)
			return HTTP_MORE;
		if (!buf_add(&r->body, in->p, k))
			return bad(r, "its answer is too long");
		in->p += k;
		if (!line(in, &p, &n))
			return HTTP_MORE;
		if (n)
			return bad(r, "its answer has a broken chunk");
	}
}

/* How long the DER there says it is; 0: not known yet, or no DER. */
static size_t der_length(const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t k, i, v = 0;

	if (n < 2 || p[0] != 0x30)
		return 0;
	if (p[1] < 0x80)
		return 2u + p[1];
	k = p[1] & 0x7f;
	if (k < 1 || k > 3 || n < 2 + k)
		return 0;
	for (i = 0; i < k; i++)
		v = v << 8 | p[2 + i];
	return 2 + k + v;
}

static enum http_step body(
	struct http_reply *r, const struct framing *f, struct reading *in, bool at_end)
{
	size_t have = (size_t)(in->end - in->p), want = f->length;

	buf_clear(&r->body);
	if (f->chunked)
		return chunks(r, in);
	if (!f->has_length) {
		want = der_length(in->p, have);
		if (!want && !at_end)
			return HTTP_MORE;
		if (!want)
			want = have;
	}
	if (want > ANSWER_MAX)
		return bad(r, "its answer is too long");
	if (have < want)
		return HTTP_MORE;
	return buf_add(&r->body, in->p, want) ? HTTP_WHOLE
					      : bad(r, "its answer is too long");
}

enum http_step http_parse(struct http_reply *r, const char *p, size_t n, bool at_end)
{
	struct reading in = { p, p + n };
	struct framing f;
	enum http_step step = head(r, &f, &in, p);

	if (step != HTTP_WHOLE || r->status != 200)
		return step;
	return body(r, &f, &in, at_end);
}

/* ---- both ---- */

/* A peer may be slow, but not for ever. */
static bool in_time(struct conn *c, int64_t until)
{
	int64_t left = until - clock_ms();

	if (left <= 0)
		return false;
	conn_patience(c, (int)left);
	return true;
}

static enum status send_query(struct conn *c, const struct http_url *u,
	const void *query, size_t n, struct err *err)
{
	bool six = strchr(u->host, ':') != NULL;
	char port[16] = "";
	enum status rc;

	if (u->port != (u->tls ? 443 : 80))
		snprintf(port, sizeof(port), ":%u", u->port);
	rc = conn_sendf(c, err,
		"POST %s HTTP/1.1\r\nHost: %s%s%s%s\r\nUser-Agent: popferry/" VERSION
		"\r\n"
		"Content-Type: application/timestamp-query\r\n"
		"Accept: application/timestamp-reply\r\n"
		"Content-Length: %zu\r\nConnection: close\r\n\r\n",
		u->path, six ? "[" : "", u->host, six ? "]" : "", port, n);
	if (rc == ST_OK)
		rc = conn_send(c, query, n, err);
	return rc == ST_OK ? conn_flush(c, err) : rc;
}

static enum status too_slow(const struct conn *c, struct err *err)
{
	return err_set(err, ST_RETRY, EX_TEMPFAIL,
		"tsa: the answer of %s takes too long", conn_peer(c));
}

static enum status read_reply(
	struct conn *c, struct http_reply *r, int64_t until, struct err *err)
{
	struct buf raw = BUF_INIT(HEAD_MAX + 2 * ANSWER_MAX);
	enum http_step step = HTTP_MORE;
	struct err lost = ERR_INIT;
	enum status rc = ST_OK;
	bool at_end = false;
	const char *p;
	size_t n;

	while (step == HTTP_MORE && rc == ST_OK) {
		p = conn_peek(c, &n);
		if (!buf_add(&raw, p, n)) {
			step = bad(r, "its answer is too long");
			break;
		}
		conn_take(c, n);
		step = http_parse(r, raw.p ? raw.p : "", raw.n, at_end);
		if (step != HTTP_MORE || at_end)
			break;
		if (!in_time(c, until)) {
			rc = too_slow(c, err);
			break;
		}
		/* The end is no error where nothing but it says that all was sent. */
		if (conn_fill(c, &lost) != ST_OK)
			at_end = true;
	}
	if (step == HTTP_BAD)
		rc = err_set(err, ST_DENIED, EX_PROTOCOL, "tsa: %s: %s", conn_peer(c),
			r->fault);
	else if (rc == ST_OK && step == HTTP_MORE && clock_ms() >= until)
		rc = too_slow(c, err);
	else if (rc == ST_OK && step == HTTP_MORE)
		rc = err_set(err, ST_RETRY, EX_TEMPFAIL, "%s", lost.text);
	buf_free(&raw);
	return rc;
}

static enum status judge(const struct http_reply *r, const char *url, struct err *err)
{
	static const char wanted[] = "application/timestamp-reply";

	if (r->status >= 300 && r->status < 400 && *r->location)
		return err_set(err, ST_DENIED, EX_PROTOCOL,
			"tsa: %.150s has moved to %s: use that address", url,
			r->location);
	if (r->status >= 500 || r->status == 408 || r->status == 429)
		return err_set(err, ST_RETRY, EX_TEMPFAIL,
			"tsa: %.150s is not ready: it answers \"%s\"", url, r->reason);
	if (r->status != 200)
		return err_set(err, ST_DENIED, EX_PROTOCOL,
			"tsa: %.150s answers \"%s\"; is the address right?", url,
			r->reason);
	if (!text_same(r->type, wanted))
		return err_set(err, ST_DENIED, EX_PROTOCOL,
			"tsa: %.150s answers with %s, not with a timestamp; is the address "
			"right?",
			url, *r->type ? r->type : "something without a type");
	return ST_OK;
}

enum status http_ask(struct buf *out, const char *url, const struct tsa_config *cfg,
	const void *query, size_t n, struct err *err)
{
	int ms = cfg->deadline_ms > 0 ? cfg->deadline_ms : DEADLINE_MS;
	int64_t until = clock_ms() + ms;
	struct http_reply reply = { .body = BUF_INIT(ANSWER_MAX) };
	struct net_config net = { .name = "tsa",
		.ca_file = cfg->ca_file,
		.pin = cfg->pin,
		.connect_ms = ms,
		.log = cfg->log };
	struct conn *c = NULL;
	struct http_url u;
	enum status rc = http_url(&u, url, err);

	if (rc != ST_OK)
		goto out;
	net.host = u.host;
	net.port = u.port;
	net.tls = u.tls ? TLS_IMPLICIT : TLS_NONE;
	rc = conn_dial(&c, &net, err);
	if (rc == ST_OK && !in_time(c, until))
		rc = err_set(
			err, ST_RETRY, EX_TEMPFAIL, "tsa: %.150s is too slow", url);
	if (rc == ST_OK)
		rc = send_query(c, &u, query, n, err);
	if (rc == ST_OK)
		rc = read_reply(c, &reply, until, err);
	if (rc == ST_OK)
		rc = judge(&reply, url, err);
	if (rc == ST_OK &&
		!buf_add(out, reply.body.p ? reply.body.p : "", reply.body.n))
		rc = err_set(
			err, ST_DENIED, EX_PROTOCOL, "tsa: %.150s says too much", url);
out:
	conn_close(&c);
	buf_free(&reply.body);
	http_url_release(&u);
	return rc;
}
