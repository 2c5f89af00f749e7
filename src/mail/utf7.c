/* utf7.c: folder names as RFC 3501 section 5.1.3 spells them, and UTF-8. */
#include <popferry/mail.h>

#include "utf8.h"

#include <string.h>

static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			  "abcdefghijklmnopqrstuvwxyz0123456789+,";

size_t utf8_get(const char *p, size_t n, uint32_t *cp)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char lead = n ? (unsigned char)*p : 0xff;
	size_t len, i;
	uint32_t c;

	if (lead < 0x80) {
		*cp = lead;
		return 1;
	}
	if (lead < 0xc2 || lead > 0xf4)
		return 0;
	len = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
	if (len > n)
		return 0;
	c = lead & (0x7fU >> len);
	for (i = 1; i < len; i++) {
		if (((unsigned char)p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | ((unsigned char)p[i] & 0x3f);
	}
	if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*cp = c;
	return len;
}

size_t utf8_put(char out[4], uint32_t cp)
{
	static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
	size_t len = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4, i;

	for (i = len - 1; i > 0; i--) {
		out[i] = (char)(0x80 | (cp & 0x3f));
		cp >>= 6;
	}
	out[0] = (char)(lead[len] | cp);
	return len;
}

/* A bit queue between 16-bit units and base64 digits. */
struct bits {
	uint32_t v;
	unsigned n;
};

static bool add_unit(struct bits *q, uint32_t unit, struct buf *out)
{
	bool ok = true;

	q->v = q->v << 16 | unit;
	for (q->n += 16; q->n >= 6 && ok; q->n -= 6)
		ok = buf_addc(out, set[q->v >> (q->n - 6) & 63]);
	return ok;
}

/* One run of characters that cannot stand for themselves. */
static bool encode_run(const char **s, const char *end, struct buf *out)
{
	struct bits q = { 0, 0 };
	uint32_t c;
	size_t k;
	bool ok = buf_addc(out, '&');

	while (ok && *s < end && !(**s >= ' ' && **s <= '~')) {
		k = utf8_get(*s, (size_t)(end - *s), &c);
		if (k == 0)
			return false;
		*s += k;
		if (c >= 0x10000) {
			ok = add_unit(&q, 0xd800 + ((c - 0x10000) >> 10), out);
			c = 0xdc00 + (c & 0x3ff);
		}
		ok = ok && add_unit(&q, c, out);
	}
	if (ok && q.n)
		ok = buf_addc(out, set[q.v << (6 - q.n) & 63]);
	return ok && buf_addc(out, '-');
}

static void undo(struct buf *b, size_t n)
{
	b->n = n;
	if (b->p)
		b->p[n] = '\0';
}

bool utf7_encode(const char *s, struct buf *out)
{
	const char *end = s + strlen(s);
	size_t start = out->n;
	bool ok = true;

	while (ok && s < end) {
		if (*s == '&') {
			ok = buf_adds(out, "&-");
			s++;
		} else if (*s >= ' ' && *s <= '~') {
			ok = buf_addc(out, *s++);
		} else {
			ok = encode_run(&s, end, out);
		}
	}
	if (!ok)
		undo(out, start);
	return ok;
}

/* One 16-bit unit; *high is the first half of a surrogate pair, or 0. */
static bool take_unit(uint32_t unit, uint32_t *high, struct buf *out)
{
	char c[4];

	if (*high) {
		if (unit < 0xdc00 || unit > 0xdfff)
			return false;
		unit = 0x10000 + ((*high - 0xd800) << 10) + (unit - 0xdc00);
		*high = 0;
	} else if (unit >= 0xd800 && unit < 0xdc00) {
		*high = unit;
		return true;
	} else if (unit >= 0xdc00 && unit < 0xe000) {
		return false;
	}
	/* What can stand for itself must; and NUL is no part of a name. */
	if (unit == 0 || (unit >= ' ' && unit <= '~'))
		return false;
	return buf_add(out, c, utf8_put(c, unit));
}

/* *s is behind the '&'; after it, behind the '-'. */
static bool decode_run(const char **s, struct buf *out)
{
	struct bits q = { 0, 0 };
	uint32_t high = 0;
	const char *digit;

	for (; **s != '-'; (*s)++) {
		digit = **s ? strchr(set, **s) : NULL;
		if (!digit)
			return false;
		q.v = q.v << 6 | (uint32_t)(digit - set);
		q.n += 6;
		if (q.n < 16)
			continue;
		q.n -= 16;
		if (!take_unit(q.v >> q.n & 0xffff, &high, out))
			return false;
	}
	(*s)++;
	/* Padding is short and zero, and one run does not follow another. */
	return !high && q.n < 6 && (q.v & ((1U << q.n) - 1)) == 0 &&
		!(s[0][0] == '&' && s[0][1] != '-');
}

bool utf7_decode(const char *s, struct buf *out)
{
	size_t start = out->n;
	bool ok = true;

	while (ok && *s) {
		if (s[0] == '&' && s[1] == '-') {
			ok = buf_addc(out, '&');
			s += 2;
		} else if (*s == '&') {
			s++;
			ok = decode_run(&s, out);
		} else {
			ok = *s >= ' ' && *s <= '~' && buf_addc(out, *s);
			s++;
		}
	}
	if (!ok)
		undo(out, start);
	return ok;
}
