/*
 * reply.c: reading replies, and what they mean.
 *
 * Only class, tag and a few response codes are believed; all other text is
 * skipped within bounds, literals included.
 */
#include <popferry/buf.h>
#include <popferry/text.h>

#include "session.h"

#include <stdio.h>
#include <string.h>

enum { WAIT_MAX = 30 * 60 * 1000, TAG_DIGITS = 9, CREDENTIAL_MAX = 64 * 1024 };

/* Bytes of one response, and one literal in it, that nobody asked for. */
#define RESPONSE_MAX (64 * MIB)
#define LITERAL_MAX (16 * MIB)

/* ---- parsing ---- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static enum reply_kind kind_of(const char *p, size_t n, size_t *used)
{
	static const struct {
		const char *word;
		enum reply_kind kind;
	} words[] = {
		{ "OK", REPLY_OK },
		{ "NO", REPLY_NO },
		{ "BAD", REPLY_BAD },
		{ "BYE", REPLY_BYE },
		{ "PREAUTH", REPLY_PREAUTH },
	};
	size_t k, len;

	for (k = 0; k < N_ELEMENTS(words); k++) {
		len = strlen(words[k].word);
		if (n < len || !text_same_n(p, words[k].word, len))
			continue;
		if (n > len && p[len] != ' ')
			continue;
		*used = n > len ? len + 1 : len;
		return words[k].kind;
	}
	*used = 0;
	return REPLY_DATA;
}

void reply_parse(struct reply *r, const char *line, size_t n)
{
	size_t at = 0, used;

	*r = (struct reply){ REPLY_JUNK, 0, line, n };
	if (n && line[0] == '+') {
		r->kind = REPLY_GO;
		return;
	}
	if (n >= 2 && line[0] == '*' && line[1] == ' ') {
		at = 2;
	} else {
		while (at < n && at < TAG_DIGITS && is_digit(line[at]))
			r->tag = r->tag * 10 + (line[at++] - '0');
		if (!at || at == n || line[at] != ' ')
			return;
		at++;
	}
	r->kind = kind_of(line + at, n - at, &used);
	if (r->tag && (r->kind < REPLY_OK || r->kind > REPLY_BAD))
		r->kind = REPLY_JUNK;
	r->text = line + at + used;
	r->n = n - at - used;
}

bool reply_code(const struct reply *r, const char *code, const char **args, size_t *n)
{
	const char *p = r->text, *end = r->text + r->n, *close;
	size_t len = strlen(code);

	while (p < end && (p = memchr(p, '[', (size_t)(end - p))) != NULL) {
		p++;
		if ((size_t)(end - p) <= len || !text_same_n(p, code, len))
			continue;
		close = memchr(p, ']', (size_t)(end - p));
		if (!close || (p[len] != ' ' && p[len] != ']'))
			continue;
		*args = p[len] == ' ' ? p + len + 1 : close;
		*n = (size_t)(close - *args);
		return true;
	}
	return false;
}

bool reply_says(const struct reply *r, const char *pattern)
{
	return text_glob(pattern, r->text, r->n);
}

enum verdict reply_verdict(const struct reply *r)
{
	/* The first that fits. Quirks Q77-Q89, Q94, Q104, Q106, Q113. */
	static const struct {
		const char *pattern;
		enum verdict verdict;
	} rules[] = {
		{ "*[TOOBIG]*", NO_SIZE },
		{ "*[SERVERBUG]*", NO_DOUBT },
		{ "*[UNAVAILABLE]*", NO_DOUBT },
		{ "*throttl*", NO_WAIT },
		{ "*backoff time*", NO_WAIT },
		{ "*[INUSE]*", NO_WAIT },
		{ "*rate limit*", NO_WAIT },
		{ "*bandwidth*", NO_WAIT },
		{ "*simultaneous connections*", NO_WAIT },
		{ "*number of connections*", NO_WAIT },
		{ "*too many connections*", NO_WAIT },
		{ "*too many requests*", NO_WAIT },
		{ "*[OVERQUOTA]*", NO_QUOTA },
		/* mailutils says "APPEND [TRYCREATE] failed" of any message. */
		{ "[TRYCREATE]*", NO_BOX },
		{ "*[NONEXISTENT]*", NO_BOX },
		{ "*[NOPERM]*", NO_RIGHT },
		{ "*mailbox size*", NO_QUOTA },
		{ "*maximum*size*", NO_SIZE },
		{ "*size*exceed*", NO_SIZE },
		{ "*exceed*size*", NO_SIZE },
		{ "*too large*", NO_SIZE },
		{ "*too big*", NO_SIZE },
		{ "*larger than*", NO_SIZE },
		/* After Dovecot's "[LIMIT] Mail size is larger than ...". */
		{ "*[LIMIT]*", NO_WAIT },
		{ "*quota*", NO_QUOTA },
		{ "*blocks limit exceeded*", NO_QUOTA },
		{ "*storage limit*", NO_QUOTA },
		{ "*exceed*storage*", NO_QUOTA },
		{ "*insufficient*storage*", NO_QUOTA },
		{ "*insufficient*space*", NO_QUOTA },
		{ "*not enough*space*", NO_QUOTA },
		{ "*no space left*", NO_QUOTA },
		{ "*disk full*", NO_QUOTA },
		{ "*mailbox*full*", NO_QUOTA },
		{ "*mail box*full*", NO_QUOTA },
		{ "*find a bigger place*", NO_QUOTA },
		{ "*timeout*", NO_DOUBT },
		{ "*timed out*", NO_DOUBT },
		{ "*server unavailable*", NO_DOUBT },
		{ "*internal error*", NO_DOUBT },
		{ "*internal server error*", NO_DOUBT },
		{ "*temporar*", NO_DOUBT },
		{ "*try again*", NO_DOUBT },
		{ "*permission denied*", NO_RIGHT },
		{ "*access denied*", NO_RIGHT },
		{ "*read-only*", NO_RIGHT },
		{ "*read only*", NO_RIGHT },
		{ "*virus*", NO_POLICY },
		{ "*malware*", NO_POLICY },
		{ "*infected*", NO_POLICY },
		{ "*spam*", NO_POLICY },
		{ "*header*", NO_CONTENT },
		{ "*newline*", NO_CONTENT },
		{ "*line*too long*", NO_CONTENT },
		{ "*NUL char*", NO_CONTENT },
		{ "*null char*", NO_CONTENT },
		{ "*invalid character*", NO_CONTENT },
		{ "*8bit*", NO_CONTENT },
		{ "*8-bit*", NO_CONTENT },
		{ "*non-ascii*", NO_CONTENT },
		{ "*pars*message*", NO_CONTENT },
		{ "*message*pars*", NO_CONTENT },
		{ "*malformed message*", NO_CONTENT },
		{ "*invalid message*", NO_CONTENT },
		{ "*mime*", NO_CONTENT },
	};
	size_t k;

	for (k = 0; k < N_ELEMENTS(rules); k++)
		if (reply_says(r, rules[k].pattern))
			return rules[k].verdict;
	return NO_THIS;
}

/* ---- reading ---- */

enum status reply_line(struct imap *i, const char **line, size_t *n, struct err *err)
{
	enum status rc = conn_line(i->conn, IMAP_LINE_MAX, line, n, err);

	/* A line that is too long leaves the connection open, in the middle. */
	if (rc != ST_OK)
		conn_kill(i->conn);
	return rc;
}

bool reply_literal(const char *line, size_t n, uint64_t *size)
{
	size_t at;

	if (n < 3 || line[n - 1] != '}')
		return false;
	n--;
	if (line[n - 1] == '+')
		n--;
	for (at = n; at && is_digit(line[at - 1]); at--)
		;
	if (at == n || n - at > 18 || !at || line[at - 1] != '{')
		return false;
	for (*size = 0; at < n; at++)
		*size = *size * 10 + (uint64_t)(line[at] - '0');
	return true;
}

enum status reply_take(
	struct imap *i, uint64_t size, mail_take *take, void *ctx, struct err *err)
{
	enum status rc;
	const char *p;
	size_t n;

	while (size) {
		p = conn_peek(i->conn, &n);
		if (!n) {
			rc = conn_fill(i->conn, err);
			if (rc != ST_OK)
				return rc;
			continue;
		}
		n = n < size ? n : (size_t)size;
		if (take)
			take(ctx, p, n);
		conn_take(i->conn, n);
		size -= n;
	}
	return ST_OK;
}

enum status reply_rest(struct imap *i, const char *line, size_t n, reply_each *each,
	void *ctx, struct err *err)
{
	enum status rc = ST_OK;
	uint64_t size;

	while (rc == ST_OK && reply_literal(line, n, &size)) {
		if (size > LITERAL_MAX)
			return imap_junk(
				i, &(struct reply){ .text = line, .n = n }, err);
		rc = reply_take(i, size, NULL, NULL, err);
		if (rc == ST_OK)
			rc = reply_line(i, &line, &n, err);
		if (rc == ST_OK && each)
			each(ctx, line, n);
	}
	return rc;
}

enum status reply_read(
	struct imap *i, struct reply *r, reply_each *each, void *ctx, struct err *err)
{
	const char *line;
	enum status rc;
	size_t n;

	conn_budget(i->conn, RESPONSE_MAX);
	rc = reply_line(i, &line, &n, err);
	if (rc != ST_OK)
		return rc;
	reply_parse(r, line, n);
	if (r->kind == REPLY_DATA) {
		if (each)
			each(ctx, line, n);
		rc = reply_rest(i, line, n, each, ctx, err);
	}
	conn_budget(i->conn, UINT64_MAX);
	return rc;
}

static enum status wait_for(struct imap *i, int tag, bool go, struct reply *r,
	reply_each *each, void *ctx, struct err *err)
{
	enum status rc;

	for (;;) {
		rc = reply_read(i, r, each, ctx, err);
		if (rc != ST_OK)
			return rc;
		if (r->kind == REPLY_BYE)
			return imap_bye(i, r, err);
		if (go && r->kind == REPLY_GO)
			return ST_OK;
		if (r->tag == tag && r->kind != REPLY_JUNK)
			return ST_OK;
		if (r->tag || r->kind == REPLY_JUNK || r->kind == REPLY_GO)
			return imap_junk(i, r, err);
	}
}

enum status reply_wait(struct imap *i, int tag, struct reply *r, reply_each *each,
	void *ctx, struct err *err)
{
	return wait_for(i, tag, false, r, each, ctx, err);
}

enum status reply_wait_go(struct imap *i, int tag, struct reply *r, reply_each *each,
	void *ctx, struct err *err)
{
	return wait_for(i, tag, true, r, each, ctx, err);
}

/* ---- ends ---- */

int reply_backoff_ms(const struct reply *r)
{
	static const char words[] = "backoff time";
	size_t len = sizeof(words) - 1, k, at;
	long ms = 0;

	for (k = 0; k + len <= r->n; k++)
		if (text_same_n(r->text + k, words, len))
			break;
	for (at = k + len; at < r->n && !is_digit(r->text[at]); at++)
		;
	for (; at < r->n && is_digit(r->text[at]) && ms < WAIT_MAX; at++)
		ms = ms * 10 + (r->text[at] - '0');
	return ms < WAIT_MAX ? (int)ms : WAIT_MAX;
}

static bool holds(const char *p, size_t n, const char *secret)
{
	return memmem(p, n, secret, strlen(secret)) != NULL;
}

/* Some servers answer a login they do not understand with all of it. */
static bool says_back(const struct imap *i, const struct reply *r)
{
	struct buf plain = BUF_INIT(CREDENTIAL_MAX), bare = BUF_INIT(IMAP_LINE_MAX);
	const char *password = i->cfg.password;
	bool yes;
	size_t k;

	if (i->authenticated || !password || !*password)
		return false;
	for (k = 0; k < r->n; k++) { /* as it was before it was quoted */
		if (r->text[k] == '\\' && k + 1 < r->n)
			k++;
		buf_addc(&bare, r->text[k]);
	}
	yes = holds(r->text, r->n, password) || holds(buf_str(&bare), bare.n, password);
	if (!yes && sasl_plain(i->cfg.user, password, &plain))
		yes = holds(r->text, r->n, buf_str(&plain));
	if (plain.p)
		explicit_bzero(plain.p, plain.n);
	if (bare.p)
		explicit_bzero(bare.p, bare.n);
	buf_free(&plain);
	buf_free(&bare);
	return yes;
}

/* The server's words, unless they hold what is secret. */
static struct reply shown(const struct imap *i, const struct reply *r)
{
	static const char words[] = "not shown, for it repeats the password";
	struct reply out = *r;

	if (says_back(i, r)) {
		out.text = words;
		out.n = sizeof(words) - 1;
	}
	return out;
}

enum status imap_junk(struct imap *i, const struct reply *r, struct err *err)
{
	const struct reply said = shown(i, r);
	enum status rc = err_set(err, ST_RETRY, EX_PROTOCOL,
		"%s answers what was not asked, or not as IMAP does; the connection is "
		"given up",
		i->where);

	err_reply(err, said.text, said.n);
	conn_kill(i->conn);
	return rc;
}

enum status imap_bye(struct imap *i, const struct reply *r, struct err *err)
{
	const struct reply said = shown(i, r);
	enum status rc = err_set(err, ST_RETRY, EX_TEMPFAIL,
		"%s ended the session (server said: %.*s)", i->where, (int)said.n,
		said.text);

	err_reply(err, said.text, said.n);
	i->wait_ms = reply_backoff_ms(r);
	conn_kill(i->conn);
	return rc;
}

enum status imap_no(struct imap *i, const struct reply *r, int ex, struct err *err,
	const char *fmt, ...)
{
	enum status st = ST_DENIED;
	const char *advice = "";
	char what[ERR_TEXT];
	struct reply said;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	switch (reply_verdict(r)) {
	case NO_WAIT:
	case NO_DOUBT:
		i->wait_ms = reply_backoff_ms(r);
		st = ST_RETRY;
		ex = EX_TEMPFAIL;
		break;
	case NO_QUOTA:
		ex = EX_CANTCREAT;
		advice =
			"; make room in that account or raise its quota, and run again";
		break;
	case NO_THIS:
	case NO_CONTENT:
	case NO_SIZE:
	case NO_POLICY:
	case NO_RIGHT:
	case NO_BOX:
		break;
	}
	said = shown(i, r);
	err_set(err, st, ex, "%s (server said: %.*s)%s", what, (int)said.n, said.text,
		advice);
	err_reply(err, said.text, said.n);
	return st;
}
