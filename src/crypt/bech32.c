/* bech32.c: 32 bytes as text with a checksum (BIP 173, of any length). */
#include "own.h"

#include <string.h>

enum { SYMBOLS = (POINT * 8 + 4) / 5, CHECK = 6 };

static const char letters[] = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

static uint32_t step(uint32_t c, unsigned v)
{
	static const uint32_t gen[] = { 0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd,
		0x2a1462b3 };
	uint32_t top = c >> 25;
	size_t i;

	c = (c & 0x1ffffff) << 5 ^ v;
	for (i = 0; i < 5; i++)
		if (top >> i & 1)
			c ^= gen[i];
	return c;
}

static uint32_t over_prefix(const char *prefix)
{
	uint32_t c = 1;
	const char *p;

	for (p = prefix; *p; p++)
		c = step(c, (unsigned char)*p >> 5);
	c = step(c, 0);
	for (p = prefix; *p; p++)
		c = step(c, *p & 31);
	return c;
}

static int symbol(char c)
{
	const char *p = c ? strchr(letters, c) : NULL;

	return p ? (int)(p - letters) : -1;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool one_case(const char *s, size_t n)
{
	bool up = false, low = false;
	size_t i;

	for (i = 0; i < n; i++) {
		up |= s[i] >= 'A' && s[i] <= 'Z';
		low |= s[i] >= 'a' && s[i] <= 'z';
	}
	return !(up && low);
}

bool bech32_read(unsigned char out[POINT], const char *prefix, const char *s, size_t n)
{
	size_t k = strlen(prefix), i, o = 0;
	uint32_t sum = over_prefix(prefix), bits = 0;
	unsigned have = 0;

	if (n != k + 1 + SYMBOLS + CHECK || s[k] != '1' || !one_case(s, n))
		return false;
	for (i = 0; i < k; i++)
		if (lower(s[i]) != prefix[i])
			return false;
	for (i = k + 1; i < n; i++) {
		int v = symbol(lower(s[i]));

		if (v < 0)
			return false;
		sum = step(sum, (unsigned)v);
		if (i >= n - CHECK)
			continue;
		bits = bits << 5 | (uint32_t)v;
		have += 5;
		if (have >= 8) {
			have -= 8;
			out[o++] = (unsigned char)(bits >> have);
		}
	}
	return sum == 1 && (bits & ((1u << have) - 1)) == 0;
}

void bech32_write(struct buf *b, const char *prefix, const unsigned char in[POINT])
{
	uint32_t sum = over_prefix(prefix), bits = 0;
	unsigned have = 0;
	size_t i, at = 0;

	buf_adds(b, prefix);
	buf_addc(b, '1');
	for (i = 0; i < SYMBOLS; i++) {
		unsigned v;

		if (have < 5) { /* behind the last byte stand zeros */
			bits = bits << 8 | (at < POINT ? in[at] : 0);
			at++;
			have += 8;
		}
		have -= 5;
		v = bits >> have & 31;
		sum = step(sum, v);
		buf_addc(b, letters[v]);
	}
	for (i = 0; i < CHECK; i++)
		sum = step(sum, 0);
	sum ^= 1;
	for (i = CHECK; i-- > 0;)
		buf_addc(b, letters[sum >> 5 * i & 31]);
}
