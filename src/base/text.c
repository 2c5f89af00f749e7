/* text.c: bytes made fit to print, and small encodings. */
#include <popferry/buf.h>
#include <popferry/text.h>

#include <stdio.h>
#include <string.h>

static const char hexdigits[] = "0123456789abcdef";

/*
 * Decodes one UTF-8 character (RFC 3629: shortest form, no surrogates).
 * Returns its length, or 0 when s does not start with one.
 */
static size_t utf8_next(const unsigned char *s, size_t n, uint32_t *cp)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t least;
	} forms[] = {
		{ 0x80, 0x00, 0 },
		{ 0xe0, 0xc0, 0x80 },
		{ 0xf0, 0xe0, 0x800 },
		{ 0xf8, 0xf0, 0x10000 },
	};
	size_t len, i;
	uint32_t c;

	for (len = 0; len < 4; len++)
		if ((s[0] & forms[len].mask) == forms[len].lead)
			break;
	if (len == 4 || len >= n)
		return 0;
	c = s[0] & (unsigned char)~forms[len].mask;
	for (i = 1; i <= len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < forms[len].least || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*cp = c;
	return len + 1;
}

bool text_is_utf8(const char *s, size_t n)
{
	uint32_t c;
	size_t i, len;

	for (i = 0; i < n; i += len) {
		len = utf8_next((const unsigned char *)s + i, n - i, &c);
		if (!len)
			return false;
	}
	return true;
}

/* Characters that move the cursor, hide text or turn its direction. */
static bool unprintable(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || c == 0x200e ||
		c == 0x200f || (c >= 0x202a && c <= 0x202e) ||
		(c >= 0x2066 && c <= 0x2069) || c == 0x2028 || c == 0x2029 ||
		c == 0xfeff;
}

/* Writes the clean form of the character at s to out; its input length. */
static size_t clean_one(char out[16], size_t *out_n, const char *s, size_t n)
{
	uint32_t c = 0;
	size_t len = utf8_next((const unsigned char *)s, n, &c);

	if (len == 0 || (unprintable(c) && c < 0x100)) {
		unsigned char b = len ? (unsigned char)c : (unsigned char)*s;

		*out_n = (size_t)snprintf(out, 16, "\\x%02x", (unsigned)b);
		return len ? len : 1;
	}
	if (unprintable(c)) {
		*out_n = (size_t)snprintf(out, 16, "\\u{%04x}", (unsigned)c);
		return len;
	}
	memcpy(out, s, len);
	*out_n = len;
	return len;
}

char *text_clean(char *out, size_t cap, const char *s, size_t n)
{
	char one[16];
	size_t o = 0, k = 0, i = 0;
	size_t dots = 0; /* the last place where "..." would fit */

	while (i < n) {
		i += clean_one(one, &k, s + i, n - i);
		if (o + k >= cap) {
			if (cap >= sizeof("...")) {
				memcpy(out + dots, "...", 3);
				o = dots + 3;
			}
			break;
		}
		memcpy(out + o, one, k);
		o += k;
		if (o + sizeof("...") <= cap)
			dots = o;
	}
	if (cap)
		out[o] = '\0';
	return out;
}

void text_clean_add(struct buf *b, const char *s, size_t n)
{
	char one[16];
	size_t k = 0, i = 0;

	while (i < n) {
		i += clean_one(one, &k, s + i, n - i);
		if (!buf_add(b, one, k))
			return;
	}
}

char *text_number(char *out, uint64_t n)
{
	char text[NUMBER_MAX];
	size_t i = sizeof(text);

	do
		text[--i] = (char)('0' + n % 10);
	while (n /= 10);
	memcpy(out, text + i, sizeof(text) - i);
	return out + (sizeof(text) - i);
}

char *text_hex(char *out, const unsigned char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		out[2 * i] = hexdigits[p[i] >> 4];
		out[2 * i + 1] = hexdigits[p[i] & 15];
	}
	out[2 * n] = '\0';
	return out;
}

/* One more than the value; 0: none. */
static const unsigned char hexvalues[256] = { ['0'] = 1,
	['1'] = 2,
	['2'] = 3,
	['3'] = 4,
	['4'] = 5,
	['5'] = 6,
	['6'] = 7,
	['7'] = 8,
	['8'] = 9,
	['9'] = 10,
	['a'] = 11,
	['b'] = 12,
	['c'] = 13,
	['d'] = 14,
	['e'] = 15,
	['f'] = 16,
	['A'] = 11,
	['B'] = 12,
	['C'] = 13,
	['D'] = 14,
	['E'] = 15,
	['F'] = 16 };

static int hexval(char c)
{
	return hexvalues[(unsigned char)c] - 1;
}

bool text_unhex(unsigned char *out, size_t n, const char *s)
{
	size_t i;

	if (strlen(s) != 2 * n)
		return false;
	for (i = 0; i < n; i++) {
		int hi = hexval(s[2 * i]), lo = hexval(s[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		out[i] = (unsigned char)(hi << 4 | lo);
	}
	return true;
}

int text_sextet(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool text_base64(struct buf *b, const void *data, size_t n)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				  "abcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = data;
	size_t i;

	for (i = 0; i < n; i += 3) {
		size_t left = n - i;
		uint32_t v = (uint32_t)p[i] << 16 |
			(left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
			(left > 2 ? p[i + 2] : 0);
		char out[4] = { set[v >> 18], set[v >> 12 & 63], set[v >> 6 & 63],
			set[v & 63] };

		if (left < 3)
			out[3] = '=';
		if (left < 2)
			out[2] = '=';
		if (!buf_add(b, out, 4))
			return false;
	}
	return true;
}

void text_json(struct buf *b, const char *s, size_t n)
{
	size_t i = 0, len;
	uint32_t c;

	buf_addc(b, '"');
	while (i < n) {
		len = utf8_next((const unsigned char *)s + i, n - i, &c);
		if (len == 0)
			buf_adds(b, "\\ufffd");
		else if (c == '"' || c == '\\')
			buf_addf(b, "\\%c", (char)c);
		else if (unprintable(c))
			buf_addf(b, "\\u%04x", (unsigned)c);
		else
			buf_add(b, s + i, len);
		i += len ? len : 1;
	}
	buf_addc(b, '"');
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool text_same_n(const char *a, const char *b, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (lower(a[i]) != lower(b[i]))
			return false;
	return true;
}

bool text_same(const char *a, const char *b)
{
	size_t n = strlen(a);

	return strlen(b) == n && text_same_n(a, b, n);
}

bool text_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

const char *text_s(uint64_t n)
{
	return n == 1 ? "" : "s";
}

char *text_bytes(char out[16], uint64_t n)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double v = (double)n;
	size_t u = 0;

	while (v >= 1024 && u + 1 < sizeof(units) / sizeof(units[0])) {
		v /= 1024;
		u++;
	}
	snprintf(out, 16, u ? "%.1f %s" : "%.0f %s", v, units[u]);
	return out;
}

bool text_glob(const char *pattern, const char *s, size_t n)
{
	const char *star = NULL;
	size_t i = 0, back = 0;

	while (i < n) {
		if (*pattern == '*') {
			star = pattern++;
			back = i;
		} else if (*pattern &&
			(*pattern == '?' || lower(*pattern) == lower(s[i]))) {
			pattern++;
			i++;
		} else if (star) {
			pattern = star + 1;
			i = ++back;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

/* ---- what somebody may have meant ---- */

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Levenshtein's distance, ASCII case not counted; NEAREST_WORD + 1 for long words. */
static size_t distance(const char *a, const char *b)
{
	size_t row[NEAREST_WORD + 1], na = strlen(a), nb = strlen(b), i, j;

	if (na > NEAREST_WORD || nb > NEAREST_WORD)
		return NEAREST_WORD + 1;
	for (j = 0; j <= nb; j++)
		row[j] = j;
	for (i = 1; i <= na; i++) {
		size_t corner = row[0];

		row[0] = i;
		for (j = 1; j <= nb; j++) {
			size_t up = row[j];
			size_t change = corner + !text_same_n(a + i - 1, b + j - 1, 1);

			row[j] = least(least(up, row[j - 1]) + 1, change);
			corner = up;
		}
	}
	return row[nb];
}

void nearest_offer(struct nearest *n, const char *known)
{
	size_t d = distance(n->word, known);

	if (d < n->distance) {
		n->distance = d;
		n->best = known;
	}
}
