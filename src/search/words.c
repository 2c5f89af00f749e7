/* words.c: text as the tokenizer can part it into words. */
#include "own.h"

/* Ranges of scripts without blanks between words, and of Hangul, whose words grow
 * tails. */
static const struct {
	uint32_t first, last;
} alone[] = {
	{ 0x0e00, 0x0eff }, /* Thai, Lao */
	{ 0x1000, 0x109f }, /* Myanmar */
	{ 0x1780, 0x17ff }, /* Khmer */
	{ 0x3040, 0x30ff }, /* kana */
	{ 0x31f0, 0x31ff },
	{ 0x3400, 0x4dbf }, /* Han */
	{ 0x4e00, 0x9fff },
	{ 0xac00, 0xd7a3 }, /* Hangul */
	{ 0xf900, 0xfaff },
	{ 0xff66, 0xff9d }, /* half-width kana */
	{ 0x20000, 0x3ffff },
};

/* The character at s; *len is 1 and the result 0 where there is none. */
static uint32_t character(const unsigned char *s, size_t n, size_t *len)
{
	size_t want = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 1, i;
	uint32_t c = s[0] & (0x7f >> want);

	*len = 1;
	if (want == 1 || want > n || s[0] > 0xf4)
		return 0;
	for (i = 1; i < want; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	*len = want;
	return c;
}

static bool stands_alone(uint32_t c)
{
	size_t i;

	for (i = 0; i < N_ELEMENTS(alone); i++)
		if (c >= alone[i].first && c <= alone[i].last)
			return true;
	return false;
}

static bool mark(uint32_t c)
{
	/* Thai and Lao vowels and tones belong to the letter before them. */
	return c == 0xe31 || (c >= 0xe34 && c <= 0xe3a) || (c >= 0xe47 && c <= 0xe4e) ||
		c == 0xeb1 || (c >= 0xeb4 && c <= 0xebc) || (c >= 0xec8 && c <= 0xecd);
}

void words_add(struct buf *out, const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;
	bool was_alone = false;
	size_t i = 0, from, len;

	while (i < n) {
		/* ASCII goes over in runs. */
		for (from = i; i < n && p[i] < 0x80 && p[i] >= ' ';)
			i++;
		if (i > from) {
			buf_add(out, s + from, i - from);
			was_alone = false;
		}
		if (i == n)
			break;
		if (p[i] < 0x80) {
			buf_addc(out, ' ');
			i++;
		} else {
			uint32_t c = character(p + i, n - i, &len);
			bool one = stands_alone(c);

			if ((one || was_alone) && !mark(c))
				buf_addc(out, ' ');
			if (c)
				buf_add(out, s + i, len);
			else
				buf_addc(out, ' ');
			was_alone = one;
			i += len;
			continue;
		}
		was_alone = false;
	}
}
