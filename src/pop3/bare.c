/*
 * bare.c: finds the end of a message on servers that write LF for CRLF.
 *
 * A "." alone between two LFs is text by the standard, so this is only used
 * after a status line that ended in LF too, and only until the first CRLF: from
 * there on the standard counts.
 */
#include "session.h"

enum { LINE_START, TEXT, TEXT_CR, DOT, DOT_CR };

static int after(char c)
{
	return c == '\n' ? LINE_START : c == '\r' ? TEXT_CR : TEXT;
}

/* One byte. True at the end of the message. */
static bool step(struct bare *b, char c, mail_take *take, void *ctx)
{
	bool first = !b->begun;

	switch (b->state) {
	case LINE_START:
		if (c == '.') {
			b->state = DOT;
			return false;
		}
		break;
	case TEXT_CR:
		b->strict = c == '\n';
		break;
	case DOT:
		if (c == '\n')
			return true;
		if (c == '\r') {
			b->state = DOT_CR;
			return false;
		}
		break; /* it was stuffed */
	case DOT_CR:
		if (c == '\n' && first)
			return true;
		/* The line does not begin behind a CRLF, so the dot is text. */
		b->strict = c == '\n';
		take(ctx, c == '\n' ? ".\r" : "\r", c == '\n' ? 2 : 1);
		break;
	default:
		break;
	}
	take(ctx, &c, 1);
	b->begun = true;
	b->state = after(c);
	return false;
}

size_t bare_feed(struct bare *b, const char *in, size_t n, bool *done, mail_take *take,
	void *ctx)
{
	size_t i;

	*done = false;
	for (i = 0; i < n && !b->strict; i++)
		if (step(b, in[i], take, ctx)) {
			*done = true;
			return i + 1;
		}
	return i < n ? i + dot_feed(&b->dot, in + i, n - i, done, take, ctx) : i;
}
