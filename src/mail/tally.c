/* tally.c: NUL, line ends and long lines, and what they mean for the upload. */
#include "tally.h"

#include <popferry/mem.h>

#include <string.h>
#ifdef __SSE2__
#	include <emmintrin.h>
#endif

enum { LINE_LONG = 998 }; /* RFC 5322 section 2.1.1 */

enum { STRIP = 64 }; /* what the compiler makes a few vector instructions of */

/* Of STRIP bytes and one more: is_clean() has the words. */
#ifdef __SSE2__
static inline __m128i dirt(const char *p)
{
	__m128i here = _mm_loadu_si128((const void *)p);
	__m128i next = _mm_loadu_si128((const void *)(p + 1));
	__m128i odd = _mm_xor_si128(_mm_cmpeq_epi8(here, _mm_set1_epi8('\r')),
		_mm_cmpeq_epi8(next, _mm_set1_epi8('\n')));

	return _mm_or_si128(odd, _mm_cmpeq_epi8(here, _mm_setzero_si128()));
}

static inline bool is_dirty(const char *p)
{
	return _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(dirt(p), dirt(p + 16)),
		_mm_or_si128(dirt(p + 32), dirt(p + 48))));
}
#else
static bool is_dirty(const char *p)
{
	unsigned char bad = 0;
	size_t i;

	for (i = 0; i < STRIP; i++)
		bad |= (unsigned char)(((p[i] == '\r') ^ (p[i + 1] == '\n')) |
			(p[i] == '\0'));
	return bad;
}
#endif

/*
 * Is every CR followed by an LF, every LF preceded by a CR, and no byte NUL? Not
 * judged are a CR at the end and an LF at the start.
 */
static bool is_clean(const char *p, size_t n)
{
	unsigned char bad = 0;
	size_t i;

	for (; n > STRIP; p += STRIP, n -= STRIP)
		if (is_dirty(p))
			return false;
	for (i = 0; i + 1 < n; i++)
		bad |= (unsigned char)(((p[i] == '\r') ^ (p[i + 1] == '\n')) |
			(p[i] == '\0'));
	return !bad && p[i] != '\0';
}

static size_t count_crs(const char *p, size_t n)
{
	size_t all = 0, i;

	for (; n >= STRIP; p += STRIP, n -= STRIP) {
		unsigned char strip = 0;

		for (i = 0; i < STRIP; i++)
			strip = (unsigned char)(strip + (p[i] == '\r'));
		all += strip;
	}
	for (i = 0; i < n; i++)
		all += p[i] == '\r';
	return all;
}

/* As much of a line as came; lf: its LF, which is not in n, came too. */
static void tally_line(struct tally *t, uint64_t n, bool lf, bool cr)
{
	t->line += n;
	if (t->line > LINE_LONG + (uint64_t)cr)
		t->bits |= AN_LONG_LINE;
	if (lf)
		t->line = 0;
	if (lf && !cr)
		t->bare_lf++;
}

/* Every line end is CRLF: only lengths count, and most lines need no look. */
static void tally_clean(struct tally *t, const char *p, size_t n)
{
	enum { WHOLE = LINE_LONG + 2 };
	const char *end = p + n, *nl;
	size_t left, most;

	for (;;) {
		left = (size_t)(end - p);
		most = t->line < WHOLE ? (size_t)(WHOLE - t->line) : 0;
		if (most > left)
			most = left;
		nl = memrchr(p, '\n', most);
		if (!nl && most < left) {
			t->bits |= AN_LONG_LINE;
			nl = memchr(p + most, '\n', left - most);
		}
		if (!nl)
			break;
		t->line = 0;
		p = nl + 1;
	}
	t->last = end[-1];
	t->ended = t->last == '\n';
	if (p < end)
		tally_line(t, (uint64_t)(end - p), false, t->last == '\r');
}

static void tally_odd(struct tally *t, const char *p, size_t n)
{
	const char *start = p, *end = p + n, *nl;
	size_t crs = 0; /* with their LF, or still in doubt, in this piece */
	bool cr;

	if (memchr(p, '\0', n))
		t->bits |= AN_NUL;
	if (t->last == '\r' && *p != '\n')
		t->bits |= AN_BARE_CR;
	while (p < end && (nl = memchr(p, '\n', (size_t)(end - p)))) {
		cr = (nl > start ? nl[-1] : t->last) == '\r';
		crs += cr && nl > start;
		tally_line(t, (uint64_t)(nl - p), true, cr);
		t->ended = cr;
		p = nl + 1;
	}
	t->last = end[-1];
	if (p < end) {
		cr = t->last == '\r';
		crs += cr;
		tally_line(t, (uint64_t)(end - p), false, cr);
		t->ended = false;
	}
	if (t->bare_lf)
		t->bits |= AN_BARE_LF;
	if (!(t->bits & AN_BARE_CR) && count_crs(start, n) != crs)
		t->bits |= AN_BARE_CR;
}

void tally_put(struct tally *t, const char *p, size_t n)
{
	t->size += n;
	if ((t->last == '\r') == (*p == '\n') && is_clean(p, n))
		tally_clean(t, p, n);
	else
		tally_odd(t, p, n);
}

void tally_end(struct tally *t, struct facts *f)
{
	if (t->last == '\r')
		t->bits |= AN_BARE_CR;
	if (t->line > LINE_LONG)
		t->bits |= AN_LONG_LINE;
	if (!t->ended)
		t->bits |= AN_NO_FINAL_EOL;
	f->size = t->size;
	f->wire = t->size + t->bare_lf;
	if (t->last != '\n')
		f->wire += 2;
	f->anomalies |= t->bits;
}

const char *anomaly_names(unsigned bits, char out[160])
{
	static const char *const names[] = { "nul", "bare-lf", "bare-cr", "8bit-header",
		"no-final-eol", "long-line", "no-msgid", "no-date", "mbox-from",
		"header-cut", "scan" };
	size_t i, n, o = 0;

	for (i = 0; i < N_ELEMENTS(names); i++) {
		if (!(bits & 1U << i))
			continue;
		if (o)
			out[o++] = ' ';
		n = strlen(names[i]);
		memcpy(out + o, names[i], n);
		o += n;
	}
	out[o] = '\0';
	return out;
}
