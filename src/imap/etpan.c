/*
 * etpan.c: libetpan on our connection.
 *
 * libetpan has no limits, so each call gets a budget and a guard against deep
 * parentheses. It gives up on untagged responses that it does not know, and
 * is out of step then; an extension that knows everything cures that. Its
 * result codes mix up refusals and broken replies: we look at the last line
 * it read, which is still in its buffer, and judge for ourselves.
 */
#include <popferry/mem.h>

#include "session.h"

#include <stdlib.h>
#include <string.h>
#include <threads.h>

enum { LITERAL_MAX = 1024 * 1024 };

/* ---- the extension that swallows what libetpan does not know ---- */

static void swallow_free(struct mailimap_extension_data *d)
{
	free(d);
}

static int swallow(int who, mailstream *s, MMAPString *b,
	struct mailimap_parser_context *ctx, size_t *at,
	struct mailimap_extension_data **out, size_t rate, progress_function *progress);

static struct mailimap_extension_api swallower = {
	.ext_name = (char *)"POPFERRY",
	.ext_id = -1,
	.ext_parser = swallow,
	.ext_free = swallow_free,
};

static size_t line_end(const MMAPString *b)
{
	size_t n = b->len;

	if (n && b->str[n - 1] == '\n')
		n--;
	if (n && b->str[n - 1] == '\r')
		n--;
	return n;
}

static int skip_literal(mailstream *s, uint64_t n)
{
	char waste[4096];
	ssize_t k;

	if (n > LITERAL_MAX)
		return MAILIMAP_ERROR_PARSE;
	for (; n; n -= (uint64_t)k) {
		k = mailstream_read(s, waste, n < sizeof(waste) ? n : sizeof(waste));
		if (k <= 0)
			return MAILIMAP_ERROR_STREAM;
	}
	return MAILIMAP_NO_ERROR;
}

/* *at is moved to the CRLF at the end of the response, literals and all. */
static int swallow(int who, mailstream *s, MMAPString *b,
	struct mailimap_parser_context *ctx, size_t *at,
	struct mailimap_extension_data **out, size_t rate, progress_function *progress)
{
	uint64_t n;
	int rc;

	(void)ctx;
	(void)rate;
	(void)progress;
	if (who != MAILIMAP_EXTENDED_PARSER_RESPONSE_DATA || *at > line_end(b))
		return MAILIMAP_ERROR_PARSE;
	while (reply_literal(b->str + *at, line_end(b) - *at, &n)) {
		rc = skip_literal(s, n);
		if (rc != MAILIMAP_NO_ERROR)
			return rc;
		*at = b->len;
		if (!mailstream_read_line_append(s, b))
			return MAILIMAP_ERROR_STREAM;
	}
	*at = line_end(b);
	*out = mailimap_extension_data_new(&swallower, 0, NULL);
	return *out ? MAILIMAP_NO_ERROR : MAILIMAP_ERROR_MEMORY;
}

static void register_swallower(void)
{
	if (mailimap_extension_register(&swallower) != MAILIMAP_NO_ERROR)
		xmemory_gone();
}

void etpan_open(struct imap *i)
{
	static once_flag once = ONCE_FLAG_INIT;

	call_once(&once, register_swallower);
	i->etpan = mailimap_new(0, NULL);
	if (!i->etpan)
		xmemory_gone();
}

/* ---- lending ---- */

void etpan_begin(struct imap *i, uint64_t budget)
{
	conn_budget(i->conn, budget);
	conn_guard(i->conn, true);
}

int etpan_hear(struct imap *i)
{
	mailimap *m = i->etpan;
	struct mailimap_response *response;
	int rc;

	if (!mailimap_read_line(m))
		return MAILIMAP_ERROR_STREAM;
	rc = mailimap_parse_response(m, &response);
	if (rc != MAILIMAP_NO_ERROR)
		return rc;
	rc = response->rsp_resp_done->rsp_data.rsp_tagged->rsp_cond_state->rsp_type;
	mailimap_response_free(response);
	return rc == MAILIMAP_RESP_COND_STATE_OK ? MAILIMAP_NO_ERROR
						 : MAILIMAP_ERROR_CUSTOM_COMMAND;
}

int etpan_command(struct imap *i, const char *command)
{
	/* Should it fail, so will the reading, which is then asked why. */
	conn_sendf(i->conn, NULL, "%d %s\r\n", imap_tag(i), command);
	return etpan_hear(i);
}

static void last_line(const mailimap *m, struct reply *r)
{
	const MMAPString *b = m->imap_stream_buffer;
	size_t end = line_end(b);
	const char *lf = end ? memrchr(b->str, '\n', end) : NULL;
	const char *p = lf ? lf + 1 : b->str;

	reply_parse(r, p, (size_t)(b->str + end - p));
}

enum status etpan_end(struct imap *i, int rc, struct reply *r, struct err *err)
{
	enum status st;

	conn_guard(i->conn, false);
	conn_budget(i->conn, UINT64_MAX);
	last_line(i->etpan, r);
	if (rc == MAILIMAP_NO_ERROR || rc == MAILIMAP_NO_ERROR_AUTHENTICATED ||
		rc == MAILIMAP_NO_ERROR_NON_AUTHENTICATED)
		return ST_OK;
	if (r->kind == REPLY_BYE)
		return imap_bye(i, r, err);
	st = conn_last(i->conn, err);
	if (st != ST_OK)
		return st;
	if (r->tag == i->etpan->imap_tag &&
		(r->kind == REPLY_NO || r->kind == REPLY_BAD))
		return ST_SKIP;
	return imap_junk(i, r, err);
}

enum status etpan_answer(struct imap *i, int tag, struct reply *r, struct err *err)
{
	int last = i->etpan->imap_tag;
	enum status rc;

	i->etpan->imap_tag = tag;
	etpan_begin(i, MIB);
	rc = etpan_end(i, etpan_hear(i), r, err);
	i->etpan->imap_tag = last;
	return rc;
}
