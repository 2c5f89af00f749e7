/* alike.c: is what a server shows the message that was sent? */
#include "alike.h"

#include <string.h>

void squeeze_put(struct squeeze *q, const char *p, size_t n)
{
	char kept[512];
	size_t k = 0;

	for (; n; n--, p++) {
		char c = *p;

		if (!q->in_body) {
			q->in_body = c == '\n' && !q->in_line;
			q->in_line = c != '\n' && (q->in_line || c != '\r');
			continue;
		}
		if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
			continue;
		if (c < ' ' || c > '~' || c == '?') {
			if (q->odd)
				continue;
			c = '?';
		}
		q->odd = c == '?';
		kept[k++] = c;
		if (k == sizeof(kept)) {
			facts_put(q->out, kept, k);
			k = 0;
		}
	}
	facts_put(q->out, kept, k);
}

void squeeze_end(struct squeeze *q, unsigned char digest[DIGEST])
{
	struct facts f;

	facts_end(&q->out, &f);
	memcpy(digest, f.sha256, DIGEST);
	facts_release(&f);
}

void plain_put(struct plain *q, const char *p, size_t n)
{
	char kept[512];
	size_t k = 0;

	for (; n; n--, p++) {
		if (q->cr && *p == '\n')
			kept[k++] = '\r';
		q->cr = *p == '\r';
		if (!q->cr)
			kept[k++] = *p ? *p : '\x80';
		if (k >= sizeof(kept) - 1) {
			facts_put(q->out, kept, k);
			k = 0;
		}
	}
	facts_put(q->out, kept, k);
}

void plain_end(struct plain *q, unsigned char digest[DIGEST])
{
	struct facts f;

	facts_end(&q->out, &f);
	memcpy(digest, f.exact, DIGEST);
	facts_release(&f);
}

enum likeness alike_same(
	enum dedup dedup, const struct facts *ours, const struct facts *theirs)
{
	bool strict = dedup == DEDUP_EXACT || dedup == DEDUP_NONE || !ours->has_msgid;
	bool changed = ours->anomalies & (AN_NUL | AN_BARE_CR | AN_8BIT_HEADER);
	bool one_id = ours->has_msgid && theirs->has_msgid &&
		memcmp(ours->msgid, theirs->msgid, DIGEST) == 0;

	if (memcmp(ours->exact, theirs->exact, DIGEST) == 0 ||
		(one_id && dedup == DEDUP_MESSAGE_ID_ONLY))
		return ALIKE_SAME;
	if (memcmp(ours->loose, theirs->loose, DIGEST) != 0)
		return ALIKE_NOT;
	if (memcmp(ours->ident, theirs->ident, DIGEST) == 0) {
		if (!strict)
			return ALIKE_SAME;
		return changed ? ALIKE_NEAR : ALIKE_NOT;
	}
	return changed && one_id ? ALIKE_NEAR : ALIKE_NOT;
}

static const char *next_plain(const char *s)
{
	while (*s && (*s <= ' ' || *s > '~' || *s == '?'))
		s++;
	return s;
}

bool alike_trace(const struct facts *ours, const struct facts *theirs)
{
	const char *a = ours->received, *b = theirs->received;

	if (!b)
		return true;
	for (a = a ? a : "";; a++, b++) {
		a = next_plain(a);
		b = next_plain(b);
		if (*a != *b || !*a)
			return *a == *b;
	}
}

/* Within 5 % and 2 KiB. */
static bool near(uint64_t a, uint64_t b)
{
	uint64_t most = a > b ? a : b, least = a > b ? b : a;

	return most - least <= most / 20 + 2048;
}

bool alike_rewritten(const struct facts *ours, const struct facts *theirs,
	bool same_body, bool alone)
{
	bool ident = memcmp(ours->ident, theirs->ident, DIGEST) == 0;
	bool msgid = ours->has_msgid && theirs->has_msgid &&
		memcmp(ours->msgid, theirs->msgid, DIGEST) == 0;

	if ((ident || msgid) && same_body)
		return true;
	return alone && ident && msgid && near(ours->wire, theirs->size);
}

enum status alike_crossed(
	const struct message *m, unsigned char ident[DIGEST], struct err *err)
{
	char block[4096];
	uint64_t off = 0, left = m->facts.header_size;
	enum status rc = ST_OK;
	struct facts_maker *fm;
	struct facts facts;
	const char *p;
	size_t n = 1, k;

	facts_begin(&fm);
	while (left && n) {
		rc = body_read(m->body, off, block, sizeof(block), &p, &n, err);
		if (rc != ST_OK)
			break;
		if (n > sizeof(block))
			n = sizeof(block);
		if (n > left)
			n = (size_t)left;
		memmove(block, p, n);
		for (k = 0; k < n; k++)
			if ((unsigned char)block[k] > 0x7f)
				block[k] = 'X';
		facts_put(fm, block, n);
		off += n;
		left -= n;
	}
	facts_end(&fm, &facts);
	memcpy(ident, facts.ident, DIGEST);
	facts_release(&facts);
	return rc;
}
