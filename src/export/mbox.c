/*
 * mbox.c: mboxrd: LF line ends; a line that starts with ">"s and "From " gets one
 * more ">", so that taking one away gives each line back.
 */
#include "own.h"

#include <popferry/mem.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char from[] = "From ";
enum { FROM_N = sizeof(from) - 1, SENDER_MAX = 200 };

struct mbox {
	struct out *out;
	bool start;   /* only ">" has come in this line */
	size_t found; /* bytes of "From " behind them, held back */
	bool cr;      /* held back: an LF may follow */
	bool ended;   /* the last byte that went out was an LF */
};

static void raw(struct mbox *b, const char *p, size_t n)
{
	if (n == 0)
		return;
	out_put(b->out, p, n);
	b->ended = p[n - 1] == '\n';
}

/* What was held back is no "From " line, or is one and gets its ">". */
static void release(struct mbox *b)
{
	if (b->found == FROM_N)
		raw(b, ">", 1);
	raw(b, from, b->found);
	b->found = 0;
	b->start = false;
}

static void byte(struct mbox *b, char c)
{
	if (b->cr) {
		b->cr = false;
		if (c != '\n') {
			release(b);
			raw(b, "\r", 1);
		}
	}
	if (c == '\r') {
		b->cr = true;
		return;
	}
	if (b->start && b->found == 0 && c == '>') {
		raw(b, &c, 1);
		return;
	}
	if (b->start && c == from[b->found]) {
		if (++b->found == FROM_N)
			release(b);
		return;
	}
	release(b);
	raw(b, &c, 1);
	b->start = c == '\n';
}

static void put_bytes(void *ctx, const char *p, size_t n)
{
	struct mbox *b = ctx;

	while (n) {
		size_t k = 0;

		/* The middle of lines goes as it is. */
		while (!b->start && !b->cr && k < n && p[k] != '\r' && p[k] != '\n')
			k++;
		raw(b, p, k);
		p += k;
		n -= k;
		if (n) {
			byte(b, *p++);
			n--;
		}
	}
}

/* An address without blanks, since they part the words of that line. */
static void sender(char out[SENDER_MAX], const char *header)
{
	const char *open = strrchr(header, '<'), *end, *s;
	size_t n;

	s = open ? open + 1 : header;
	end = open ? strchrnul(s, '>') : s + strlen(s);
	n = (size_t)(end - s);
	snprintf(out, SENDER_MAX, "MAILER-DAEMON");
	if (n == 0 || n >= SENDER_MAX || !memchr(s, '@', n))
		return;
	for (end = s; end < s + n; end++)
		if (*end <= ' ' || *end >= 127)
			return;
	memcpy(out, s, n);
	out[n] = '\0';
}

static enum status mbox_put(struct export *x, const struct archive_row *row,
	const struct archive_mail *m, struct err *err)
{
	struct mbox b = { .out = x->t.file, .start = true, .ended = true };
	time_t t = (time_t)message_time(row);
	char who[SENDER_MAX], when[64] = "", line[SENDER_MAX + 80];
	struct tm tm;
	enum status rc;

	sender(who, row->from);
	if (gmtime_r(&t, &tm))
		strftime(when, sizeof(when), "%a %b %e %H:%M:%S %Y", &tm);
	snprintf(line, sizeof(line), "%s%s %s\n", from, who, when);
	out_puts(b.out, line);
	rc = archive_mail_give(m, put_bytes, &b, err);
	release(&b);
	if (b.cr)
		raw(&b, "\r", 1);
	out_puts(b.out, b.ended ? "\n" : "\n\n");
	return rc;
}

const struct format format_mboxrd = { .name = "mboxrd",
	.what = "one mbox file, with LF line ends",
	.bytes = true,
	.put = mbox_put };
