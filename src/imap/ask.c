/*
 * ask.c: what a mailbox may hold: its limit, rights and quotas.
 *
 * Our own commands: libetpan can neither ask for APPENDLIMIT nor read it.
 */
#include <popferry/buf.h>
#include <popferry/text.h>

#include "session.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Where an APPENDLIMIT begins to be believed at once (quirk Q84). */
#define LIMIT_BELIEVED MIB

/* "COMMAND mailbox MORE"; its tag is told. */
static enum status say(struct imap *i, const char *command, const char *wire,
	const char *more, int *tag, struct err *err)
{
	struct buf b = BUF_INIT(2 * IMAP_NAME_MAX + 64);
	enum status rc;

	*tag = imap_tag(i);
	imap_quote(&b, wire);
	rc = conn_sendf(
		i->conn, err, "%d %s %s%s\r\n", *tag, command, buf_str(&b), more);
	buf_free(&b);
	return rc;
}

/* Calls each() for the words between the last '(' of the line and its ')'. */
static void words(const char *line, size_t n,
	void (*each)(void *ctx, unsigned k, const char *word, const char *rest),
	void *ctx)
{
	const char *p = memrchr(line, '(', n), *end = line + n;
	char word[16];
	unsigned i;
	size_t k;

	for (i = 0; p && p < end; p += k) {
		p += *p == '(' || *p == ' ';
		for (k = 0; p + k < end && !strchr(" ()", p[k]); k++)
			;
		if (!k)
			break;
		memcpy(word, p, k < sizeof(word) ? k : 0);
		word[k < sizeof(word) ? k : 0] = '\0';
		each(ctx, i++, word, p + k);
	}
}

/* ---- STATUS ---- */

static void limit(void *ctx, unsigned k, const char *word, const char *rest)
{
	uint64_t *most = ctx;

	(void)k;
	if (text_same(word, "APPENDLIMIT"))
		*most = strtoull(rest, NULL, 10); /* NIL is 0 */
}

/* "STATUS name (APPENDLIMIT 1000)"; the name may have been a literal. */
static void status_line(void *ctx, const char *line, size_t n)
{
	words(line, n, limit, ctx);
}

static enum status hear_size(
	struct imap *i, struct mailbox *m, int tag, struct err *err)
{
	uint64_t most = 0;
	struct reply r = { 0 };
	enum status rc = reply_wait(i, tag, &r, status_line, &most, err);

	if (rc != ST_OK)
		return rc;
	if (most >= LIMIT_BELIEVED)
		m->append_max = most;
	else if (most)
		i->limit_low = most;
	return ST_OK;
}

/* "* MYRIGHTS INBOX lrswi": the last word are rights; "i" is to insert. */
static void rights_line(void *ctx, const char *line, size_t n)
{
	bool *no_insert = ctx;
	const char *blank = memrchr(line, ' ', n);

	if (!blank || !text_glob("? MYRIGHTS *", line, n))
		return;
	n -= (size_t)(blank + 1 - line);
	*no_insert = n && !memchr(blank + 1, 'i', n);
}

enum status limits_ask(
	struct imap *i, struct mailbox *m, struct limits_asked *asked, struct err *err)
{
	enum status rc = ST_OK;

	*asked = (struct limits_asked){ 0, 0 };
	if (m->asked)
		return ST_OK;
	m->asked = true;
	if (imap_has(i, "ACL"))
		rc = say(i, "MYRIGHTS", m->pub.wire, "", &asked->rights, err);
	if (rc == ST_OK && asked->rights && !imap_together(i)) {
		rc = limits_hear(i, m, asked, err);
		asked->rights = 0;
	}
	if (rc == ST_OK && imap_has(i, "APPENDLIMIT"))
		rc = say(i, "STATUS", m->pub.wire, " (APPENDLIMIT)", &asked->size, err);
	return rc;
}

enum status limits_hear(struct imap *i, struct mailbox *m,
	const struct limits_asked *asked, struct err *err)
{
	struct reply r = { 0 };
	enum status rc = ST_OK;

	if (asked->rights)
		rc = reply_wait(i, asked->rights, &r, rights_line, &m->no_insert, err);
	if (rc == ST_OK && asked->size)
		rc = hear_size(i, m, asked->size, err);
	return rc;
}

/* ---- quotas ---- */

struct quota {
	uint64_t left; /* KiB */
	uint64_t used; /* of the resource at hand */
	bool storage;
};

/* In threes: "STORAGE 10 512". */
static void resource(void *ctx, unsigned k, const char *word, const char *rest)
{
	struct quota *q = ctx;
	uint64_t v = strtoull(word, NULL, 10);

	(void)rest;
	if (k % 3 == 0)
		q->storage = text_same(word, "STORAGE");
	else if (k % 3 == 1)
		q->used = v;
	else if (q->storage && (v <= q->used || v - q->used < q->left))
		q->left = v <= q->used ? 0 : v - q->used;
}

/* "* QUOTA root (STORAGE 10 512 MESSAGE 3 100)"; a QUOTAROOT line has no list. */
static void quota_line(void *ctx, const char *line, size_t n)
{
	words(line, n, resource, ctx);
}

enum status imap_room(
	struct imap *i, const struct imap_mailbox *mb, uint64_t *bytes, struct err *err)
{
	struct quota q = { .left = UINT64_MAX };
	struct reply r = { 0 };
	enum status rc;
	int tag;

	*bytes = UINT64_MAX;
	if (!imap_has(i, "QUOTA"))
		return ST_OK;
	rc = imap_finish(i, err);
	if (rc == ST_OK)
		rc = say(i, "GETQUOTAROOT", mb->wire, "", &tag, err);
	if (rc == ST_OK)
		rc = reply_wait(i, tag, &r, quota_line, &q, err);
	if (rc == ST_OK && r.kind == REPLY_OK && q.left < UINT64_MAX / KIB)
		*bytes = q.left * KIB;
	return rc;
}
