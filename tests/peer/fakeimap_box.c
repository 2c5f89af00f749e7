/* fakeimap_box.c: the mailboxes of the fake IMAP server, and what it makes of mail. */
#include "fakeimap_p.h"

#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- mailboxes ---- */

static bool same_name(const struct fakeimap *s, const char *a, const char *b)
{
	if (s->acts.nocase || text_same(a, "INBOX"))
		return text_same(a, b);
	return strcmp(a, b) == 0;
}

struct box *box_find(struct fakeimap *s, const char *name, bool make)
{
	struct box *b;
	size_t i;

	for (i = 0; i < s->n_boxes; i++)
		if (same_name(s, name, s->boxes[i]->name))
			return s->boxes[i];
	if (!make)
		return NULL;
	if (s->n_boxes == BOXES)
		abort();
	b = s->boxes[s->n_boxes++] = xcalloc(1, sizeof(*b));
	snprintf(b->name, sizeof(b->name), "%s", name);
	b->uidvalidity = 7;
	b->uidnext = 1;
	return b;
}

unsigned box_keep(struct box *b, const char *text, size_t n, int64_t from_ms,
	enum mutation mutate)
{
	struct stored *m = &b->m[b->n++];

	if (b->n > MESSAGES_MAX)
		abort();
	*m = (struct stored){ .uid = b->uidnext++, .from_ms = from_ms, .sent_n = n };
	m->sent = xmemdup0(text, n);
	m->text = mutated(text, n, mutate, &m->n);
	return m->uid;
}

void box_drop(struct box *b, size_t i)
{
	free(b->m[i].text);
	free(b->m[i].sent);
	b->n--;
	memmove(&b->m[i], &b->m[i + 1], (b->n - i) * sizeof(b->m[0]));
}

unsigned box_total(const struct fakeimap *s)
{
	unsigned n = 0;
	size_t i;

	for (i = 0; i < s->n_boxes; i++)
		n += (unsigned)s->boxes[i]->n;
	return n;
}

bool stored_seen(const struct stored *m)
{
	return m->from_ms <= clock_ms();
}

void boxes_renumber(struct fakeimap *s)
{
	size_t i, k;

	for (i = 0; i < s->n_boxes; i++) {
		struct box *b = s->boxes[i];

		b->uidvalidity++;
		b->uidnext = 1;
		for (k = 0; k < b->n; k++)
			b->m[k].uid = b->uidnext++;
	}
}

static void happen(struct fakeimap *s, const struct event *e)
{
	struct box *b = box_find(s, e->box, e->what == EV_DELIVER);

	switch (e->what) {
	case EV_DELIVER:
		box_keep(b, e->text, strlen(e->text), 0, MUTATE_NOT);
		break;
	case EV_EXPUNGE:
		if (b && e->n && e->n <= b->n)
			box_drop(b, e->n - 1);
		break;
	case EV_BUMP:
		boxes_renumber(s);
		break;
	case EV_VANISH:
		if (b)
			snprintf(b->name, sizeof(b->name), "gone");
		break;
	case EV_NONE:
		break;
	}
}

void events_due(struct fakeimap *s, unsigned n, bool before)
{
	size_t i;

	for (i = 0; i < s->acts.n_events; i++) {
		struct event *e = &s->acts.events[i];

		if (e->what == EV_NONE || n < e->at ||
			(e->what == EV_DELIVER && e->at) != before)
			continue;
		happen(s, e);
		e->what = EV_NONE;
	}
}

/* ---- what servers make of messages (quirk Q115) ---- */

/* The header's bytes, with the line break that ends it; n when there is no body. */
static size_t header_of(const char *p, size_t n)
{
	const char *end = memmem(p, n, "\r\n\r\n", 4);

	if (n >= 2 && memcmp(p, "\r\n", 2) == 0)
		return 0;
	return end ? (size_t)(end - p) + 2 : n;
}

static size_t line_of(const char *p, size_t n)
{
	const char *lf = memchr(p, '\n', n);

	return lf ? (size_t)(lf - p) + 1 : n;
}

static void each_field(struct buf *b, const char *p, size_t n, enum mutation how)
{
	bool dropped = false;
	size_t at, len;

	for (at = 0; at < n; at += len) {
		const char *line = p + at, *sign;

		len = line_of(line, n - at);
		if (*line != ' ' && *line != '\t')
			dropped = how == MUTATE_DROPRECEIVED && len > 9 &&
				text_same_n(line, "Received:", 9);
		if (dropped)
			continue;
		sign = memchr(line, how == MUTATE_MSGID ? '@' : ':', len);
		if (how == MUTATE_WS && sign && len > 2) {
			buf_add(b, line, (size_t)(sign - line) + 1);
			buf_adds(b, "\t ");
			buf_add(b, sign + 1, len - (size_t)(sign - line) - 3);
			buf_adds(b, "  \r\n");
		} else if (how == MUTATE_MSGID && sign &&
			text_same_n(line, "Message-ID:", 11)) {
			buf_add(b, line, (size_t)(sign - line));
			buf_adds(b, "@rewritten.invalid>\r\n");
		} else {
			buf_add(b, line, len);
		}
	}
}

static void each_line(struct buf *b, const char *p, size_t n)
{
	size_t at, len;

	for (at = 0; at < n; at += len) {
		len = line_of(p + at, n - at);
		buf_add(b, p + at, len > 2 ? len - 2 : 0);
		if (len > 2)
			buf_adds(b, "=\r\n=20");
		buf_adds(b, "\r\n");
	}
}

static void each_byte(
	struct buf *b, const char *p, size_t n, size_t head, enum mutation how)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (how == MUTATE_8BITX && i < head && (unsigned char)p[i] >= 0x80)
			buf_addc(b, 'X');
		else if (how == MUTATE_NUL80 && !p[i])
			buf_addc(b, (char)0x80);
		else if (how != MUTATE_LF || p[i] != '\r')
			buf_addc(b, p[i]);
	}
}

char *mutated(const char *text, size_t n, enum mutation how, size_t *out_n)
{
	struct buf b = BUF_INIT(SIZE_MAX / 2);
	size_t head = header_of(text, n);

	switch (how) {
	case MUTATE_NOT:
		buf_add(&b, text, n);
		break;
	case MUTATE_8BITX:
	case MUTATE_LF:
	case MUTATE_NUL80:
		each_byte(&b, text, n, head, how);
		break;
	case MUTATE_ADDHEADER:
		buf_adds(&b, "X-Server: was here\r\n");
		buf_add(&b, text, n);
		break;
	case MUTATE_REMIME:
		buf_add(&b, text, head);
		buf_adds(&b,
			"MIME-Version: 1.0\r\nContent-Type: text/plain\r\n"
			"Content-Transfer-Encoding: quoted-printable\r\n");
		each_line(&b, text + head, n - head);
		break;
	case MUTATE_WS:
	case MUTATE_DROPRECEIVED:
	case MUTATE_MSGID:
		each_field(&b, text, head, how);
		buf_add(&b, text + head, n - head);
		break;
	}
	*out_n = b.n;
	return buf_take(&b);
}
