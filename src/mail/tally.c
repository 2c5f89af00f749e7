/* tally.c: NUL, line ends and long lines, and what they mean for the upload. */
#include "tally.h"

#include <popferry/mem.h>

#include <string.h>

enum { LINE_LONG = 998 }; /* RFC 5322 section 2.1.1 */

/* In strips that the compiler turns into vector instructions. */
static size_t count_crs(const char *p, size_t n)
{
	enum { STRIP = 64 };
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

void tally_put(struct tally *t, const char *p, size_t n)
{
	const char *start = p, *end = p + n, *nl;
	size_t crs = 0; /* with their LF, or still in doubt, in this piece */
	bool cr;

	t->size += n;
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
		"header-cut" };
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
