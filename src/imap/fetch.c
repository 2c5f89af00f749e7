/*
 * fetch.c: many messages read back.
 *
 * A server may leave out what it does not care to give (quirks Q90, Q118), so what did
 * not come is asked for again until an answer brings nothing new.
 */
#include <popferry/buf.h>

#include "scan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	FETCH_SET = 64, /* messages a command */
	COMMAND_MAX = 1024,
};

struct many {
	const uint32_t *uids;
	bool *done;
	size_t from, to; /* what the command asks for lies in between */
	size_t came;     /* answers of this command */
	const struct imap_reading *r;
};

static void take(void *ctx, const char *p, size_t n)
{
	const struct many *m = ctx;

	m->r->take(m->r->ctx, p, n);
}

static void before(void *ctx, const struct fetch *f)
{
	const struct many *m = ctx;

	(void)f;
	m->r->begin(m->r->ctx);
}

/* What nobody asked for (Q118), and what came already, is let go. */
static void after(void *ctx, const struct fetch *f)
{
	struct many *m = ctx;
	size_t k;

	if (!f->has_uid || !f->has_body)
		return;
	for (k = m->from; k < m->to && m->uids[k] != f->uid; k++)
		;
	if (k == m->to || m->done[k])
		return;
	m->done[k] = true;
	m->came++;
	m->r->end(m->r->ctx, k, f->nil ? IMAP_UNREAD : IMAP_FETCHED);
}

/* The next set that is not done, from m->to on; the number of them. */
static size_t make_set(struct many *m, size_t n, size_t most, struct buf *b)
{
	size_t count = 0, k = m->to, last;

	while (k < n && m->done[k])
		k++;
	m->from = k;
	for (; k < n && count < most; k = last + 1) {
		last = k;
		if (m->done[k])
			continue;
		count++;
		while (last + 1 < n && count < most && !m->done[last + 1] &&
			m->uids[last + 1] == m->uids[last] + 1) {
			last++;
			count++;
		}
		buf_addf(b, "%s%" PRIu32, b->n ? "," : "", m->uids[k]);
		if (last > k)
			buf_addf(b, ":%" PRIu32, m->uids[last]);
	}
	m->to = k;
	return count;
}

static enum status one_set(struct imap *i, struct many *m, const char *set,
	struct reply *r, struct err *err)
{
	struct fetch f = { .take = take, .ctx = m };
	struct buf command = BUF_INIT(2 * COMMAND_MAX);
	enum status rc;

	m->came = 0;
	buf_addf(&command, "UID FETCH %s (UID BODY.PEEK[])", set);
	rc = scan_fetch(i, buf_str(&command), &f, before, after, m, r, err);
	buf_free(&command);
	return rc;
}

/* One pass over those that are not done. *came: whether any answer came. */
static enum status pass(struct imap *i, struct many *m, size_t n, size_t most,
	bool *came, struct err *err)
{
	struct buf set = BUF_INIT(COMMAND_MAX);
	struct reply r = { 0 };
	enum status rc = ST_OK;
	size_t asked;

	*came = false;
	m->to = 0;
	for (;;) {
		buf_clear(&set);
		asked = make_set(m, n, most, &set);
		if (asked == 0)
			break;
		rc = one_set(i, m, buf_str(&set), &r, err);
		if (rc != ST_OK)
			break;
		*came |= m->came > 0;
		if (r.kind == REPLY_OK)
			continue;
		if (!verdict_of_one(reply_verdict(&r))) {
			rc = imap_no(i, &r, EX_UNAVAILABLE, err,
				"%s does not give messages back", i->where);
			break;
		}
		/* One of them is to blame, and only alone it is known which. */
		if (asked > 1) {
			m->to = m->from;
			most = 1;
		} else if (!m->done[m->from]) {
			m->done[m->from] = true;
			m->r->end(m->r->ctx, m->from, IMAP_UNREAD);
		}
	}
	buf_free(&set);
	return rc;
}

enum status imap_fetch_many(struct imap *i, const uint32_t *uids, size_t n,
	const struct imap_reading *to, struct err *err)
{
	struct many m = { .uids = uids, .done = xcalloc(n + 1, sizeof(bool)), .r = to };
	enum status rc = imap_finish(i, err);
	bool came = true;
	size_t k;

	if (rc == ST_OK && !i->selected)
		rc = err_set(err, ST_FATAL, EX_SOFTWARE, "no mailbox is selected");
	while (rc == ST_OK && came)
		rc = pass(i, &m, n, FETCH_SET, &came, err);
	for (k = 0; rc == ST_OK && k < n; k++)
		if (!m.done[k])
			to->end(to->ctx, k,
				uids[k] < i->selected->pub.uidnext ? IMAP_GONE
								   : IMAP_NEVER);
	free(m.done);
	return rc;
}
