/* dot.c: undoes POP3's dot-stuffing and finds the end of a message. */
#include <popferry/mail.h>

#include <string.h>

enum {
	LINE_START,
	TEXT,
	TEXT_CR, /* the input was cut behind a CR, which has gone out */
	DOT,     /* a dot at the start of a line, held back */
	DOT_CR,  /* the same and a CR, both held back */
};

/*
 * Gives out text until a dot stands at the start of a line or the input ends.
 * Returns what it used up.
 */
static size_t text(struct dot *d, const char *in, size_t n, mail_take *take, void *ctx)
{
	size_t i = 0;
	const char *nl;

	for (;;) {
		nl = memchr(in + i, '\n', n - i);
		if (!nl) {
			d->state = in[n - 1] == '\r' ? TEXT_CR : TEXT;
			i = n;
			break;
		}
		i = (size_t)(nl - in) + 1;
		if (i >= 2 && in[i - 2] == '\r' && (i == n || in[i] == '.')) {
			d->state = LINE_START;
			break;
		}
		if (i == n) {
			d->state = TEXT;
			break;
		}
	}
	take(ctx, in, i);
	return i;
}

size_t dot_feed(
	struct dot *d, const char *in, size_t n, bool *done, mail_take *take, void *ctx)
{
	size_t i = 0;

	*done = false;
	while (i < n) {
		switch (d->state) {
		case LINE_START:
			if (in[i] == '.') {
				d->state = DOT;
				i++;
				break;
			}
			i += text(d, in + i, n - i, take, ctx);
			break;
		case TEXT:
			i += text(d, in + i, n - i, take, ctx);
			break;
		case TEXT_CR:
			d->state = TEXT;
			if (in[i] == '\n') {
				take(ctx, "\n", 1);
				d->state = LINE_START;
				i++;
			}
			break;
		case DOT:
			d->state = TEXT;
			if (in[i] == '\r') {
				d->state = DOT_CR;
				i++;
			}
			break;
		case DOT_CR:
			if (in[i] == '\n') {
				d->state = LINE_START; /* ready for the next reply */
				*done = true;
				return i + 1;
			}
			take(ctx, "\r", 1);
			d->state = TEXT;
			break;
		}
	}
	return i;
}
