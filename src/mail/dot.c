/* dot.c: undoes POP3's dot-stuffing and finds the end of a message. */
#include <popferry/mail.h>

#include <string.h>
#ifdef __SSE2__
#	include <emmintrin.h>
#endif

enum {
	LINE_START,
	TEXT,
	TEXT_CR, /* the input was cut behind a CR, which has gone out */
	DOT,     /* a dot at the start of a line, held back */
	DOT_CR,  /* the same and a CR, both held back */
};

enum { STRIP = 64 };

/* Is one of STRIP bytes an LF with a dot behind it? */
#ifdef __SSE2__
static inline __m128i dots(const char *p)
{
	__m128i here = _mm_loadu_si128((const void *)p);
	__m128i next = _mm_loadu_si128((const void *)(p + 1));

	return _mm_and_si128(_mm_cmpeq_epi8(here, _mm_set1_epi8('\n')),
		_mm_cmpeq_epi8(next, _mm_set1_epi8('.')));
}

static inline bool has_dot(const char *p)
{
	return _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(dots(p), dots(p + 16)),
		_mm_or_si128(dots(p + 32), dots(p + 48))));
}
#else
static bool has_dot(const char *p)
{
	unsigned char found = 0;
	size_t i;

	for (i = 0; i < STRIP; i++)
		found |= (unsigned char)((p[i] == '\n') & (p[i + 1] == '.'));
	return found;
}
#endif

/*
 * Where the first LF with a dot behind it stands, or n - 1. In strips: most lines
 * begin with something else.
 */
static size_t next_dot(const char *in, size_t n)
{
	size_t at = 0;

	while (n - at > STRIP && !has_dot(in + at))
		at += STRIP;
	while (at + 1 < n && (in[at] != '\n' || in[at + 1] != '.'))
		at++;
	return at;
}

/*
 * Gives out text until a dot stands at the start of a line or the input ends.
 * Returns what it used up.
 */
static size_t text(struct dot *d, const char *in, size_t n, mail_take *take, void *ctx)
{
	size_t i = 0;

	do
		i += next_dot(in + i, n - i) + 1;
	while (i < n && (i < 2 || in[i - 2] != '\r'));
	if (in[i - 1] == '\n')
		d->state = i >= 2 && in[i - 2] == '\r' ? LINE_START : TEXT;
	else
		d->state = in[i - 1] == '\r' ? TEXT_CR : TEXT;
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
