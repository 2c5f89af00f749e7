/*
 * encode.c: header values in ASCII, by RFC 2047.
 *
 * Only what must change does: a word without odd bytes stays as it is, and
 * neighbours with odd bytes are encoded together, with the blanks between.
 */
#include "encode.h"

#include <popferry/text.h>

#include "utf8.h"

#include <string.h>

enum {
	CHUNK = 39,     /* bytes in one encoded word, which may have 75 */
	LINE_GOOD = 76, /* RFC 5322: 78, CRLF not counted */
	LINE_MAX = 998,
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_odd(char c)
{
	unsigned char u = (unsigned char)c;

	return (u < ' ' && u != '\t') || u > '~';
}

bool encode_needed(const char *p, size_t n)
{
	for (; n; n--)
		if (is_odd(*p++))
			return true;
	return false;
}

void encode_plain(struct buf *out, const char *p, size_t n)
{
	for (; n; n--, p++)
		buf_addc(out, is_odd(*p) ? '?' : *p);
}

static bool is_utf8(const char *p, size_t n)
{
	uint32_t cp;
	size_t k;

	for (; n; p += k, n -= k) {
		k = utf8_get(p, n, &cp);
		if (!k)
			return false;
	}
	return true;
}

/* Appends encoded words with a blank between them. */
static void add_words(struct buf *out, const char *p, size_t n, bool utf8)
{
	char chunk[CHUNK];
	size_t k, j;

	while (n) {
		k = n < CHUNK ? n : CHUNK;
		for (j = k; utf8 && j < n && j && (p[j] & 0xc0) == 0x80; j--)
			;
		k = j ? j : k;
		for (j = 0; j < k; j++) {
			unsigned char c = (unsigned char)p[j];

			/* What controls a terminal stays out, encoded or not. */
			chunk[j] = c < ' ' || c == 0x7f ? ' ' : p[j];
		}
		buf_addf(out, "=?%s?B?", utf8 ? "utf-8" : "unknown-8bit");
		text_base64(out, chunk, k);
		buf_adds(out, "?=");
		p += k;
		n -= k;
		if (n)
			buf_addc(out, ' ');
	}
}

static size_t word_end(const char *p, size_t n, size_t at)
{
	while (at < n && !is_blank(p[at]))
		at++;
	return at;
}

static size_t blanks_end(const char *p, size_t n, size_t at)
{
	while (at < n && is_blank(p[at]))
		at++;
	return at;
}

static void add_text(struct buf *out, const char *p, size_t n, bool utf8)
{
	size_t at = 0, end, last, next;

	while (at < n) {
		end = word_end(p, n, at);
		if (!encode_needed(p + at, end - at)) {
			end = blanks_end(p, n, end);
			buf_add(out, p + at, end - at);
			at = end;
			continue;
		}
		/* As many neighbours as need it too. */
		for (last = end; last < n;) {
			next = blanks_end(p, n, last);
			end = word_end(p, n, next);
			if (!encode_needed(p + next, end - next))
				break;
			last = end;
		}
		add_words(out, p + at, last - at, utf8);
		at = last;
	}
}

void encode_text(struct buf *out, const char *p, size_t n)
{
	add_text(out, p, n, is_utf8(p, n));
}

/* ---- addresses ---- */

/* Behind the quoted string or comment at p; n when it has no end. */
static size_t closed(const char *p, size_t n, char close)
{
	size_t k = 1, depth = 1;

	for (; k < n; k++) {
		if (p[k] == '\\')
			k++;
		else if (p[k] == close && --depth == 0)
			return k + 1;
		else if (p[k] == '(' && close == ')')
			depth++;
	}
	return n;
}

static void add_gap(struct buf *out)
{
	if (out->n && !is_blank(out->p[out->n - 1]))
		buf_addc(out, ' ');
}

static void add_quoted(struct buf *out, const char *p, size_t n, bool utf8)
{
	struct buf bare = BUF_INIT(n);
	size_t k;

	for (k = 1; k + 1 < n; k++) {
		if (p[k] == '\\' && k + 2 < n)
			k++;
		buf_addc(&bare, p[k]);
	}
	add_gap(out);
	add_words(out, buf_str(&bare), bare.n, utf8);
	buf_addc(out, ' ');
	buf_free(&bare);
}

static void add_comment(struct buf *out, const char *p, size_t n, bool utf8)
{
	if (p[n - 1] != ')' || memchr(p + 1, '(', n - 1) || memchr(p, '\\', n)) {
		encode_plain(out, p, n);
		return;
	}
	buf_addc(out, '(');
	add_text(out, p + 1, n - 2, utf8);
	buf_addc(out, ')');
}

/* Words outside of quotes, up to the next special. */
static void add_phrase(struct buf *out, const char *p, size_t n, bool utf8)
{
	add_gap(out);
	add_text(out, p, n, utf8);
	add_gap(out);
}

void encode_addresses(struct buf *out, const char *p, size_t n)
{
	static const char specials[] = ",;:<>()\"@";
	bool utf8 = is_utf8(p, n), after_at = false;
	size_t at = 0, k;

	for (; at < n; at += k) {
		const char *s = p + at;
		size_t left = n - at;

		if (*s == '"')
			k = closed(s, left, '"');
		else if (*s == '(')
			k = closed(s, left, ')');
		else if (*s == '<')
			k = closed(s, left, '>');
		else if (memchr(specials, *s, sizeof(specials) - 1))
			k = 1;
		else
			for (k = 1; k < left; k++)
				if (memchr(specials, s[k], sizeof(specials) - 1))
					break;
		if (!encode_needed(s, k))
			buf_add(out, s, k);
		else if (*s == '"' && k > 1 && s[k - 1] == '"')
			add_quoted(out, s, k, utf8);
		else if (*s == '(')
			add_comment(out, s, k, utf8);
		else if (*s == '"' || *s == '<' || after_at ||
			(k < left && s[k] == '@'))
			encode_plain(out, s, k);
		else
			add_phrase(out, s, k, utf8);
		after_at = *s == '@';
	}
}

/* ---- lines ---- */

bool encode_fold(struct buf *out, const char *name, size_t name_n, const char *value)
{
	size_t start = out->n, col = name_n + 1, n = strlen(value), at, end;
	bool first = true;

	buf_add(out, name, name_n);
	buf_addc(out, ':');
	for (at = blanks_end(value, n, 0); at < n; at = blanks_end(value, n, end)) {
		end = word_end(value, n, at);
		if (!first && col + 1 + (end - at) > LINE_GOOD) {
			buf_adds(out, "\r\n");
			col = 0;
		}
		first = false;
		col += 1 + (end - at);
		if (col > LINE_MAX)
			break;
		buf_addc(out, ' ');
		buf_add(out, value + at, end - at);
	}
	if (col > LINE_MAX || !buf_adds(out, "\r\n")) {
		out->n = start;
		if (out->p)
			out->p[start] = '\0';
		return false;
	}
	return true;
}
