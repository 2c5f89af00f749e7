/*
 * name.c: folder names made fit for a server, different ones kept different.
 *
 * A name that had to change gets a mark, "~" and six hex digits of what it
 * was; a name that looks as if it had one gets one too, or it could be taken
 * for the changed form of another.
 */
#include <popferry/mail.h>
#include <popferry/text.h>

#include "sha.h"
#include "utf8.h"

#include <string.h>

enum { PART_MAX = 64, MARK = 7 };

/* The length of the character at p, or of a broken one; can it stay? */
static size_t next_char(const char *p, size_t n, char delimiter, bool *fit)
{
	uint32_t c = 0;
	size_t len = utf8_get(p, n, &c);

	*fit = len > 0 && c >= ' ' && !(c >= 0x7f && c < 0xa0) &&
		!(len == 1 && (*p == delimiter || strchr("/\\%*\"^", *p)));
	return len ? len : 1;
}

static bool has_mark(const char *p, size_t n)
{
	size_t i;

	if (n < MARK || p[n - MARK] != '~')
		return false;
	for (i = n - MARK + 1; i < n; i++)
		if (!strchr("0123456789abcdefABCDEF", p[i]))
			return false;
	return true;
}

/* The characters one by one; at most a little more than PART_MAX bytes. */
static size_t fit_chars(const char *part, size_t n, char delimiter, char *out)
{
	size_t i = 0, o = 0, k;
	bool fit;

	for (; i < n && o <= PART_MAX; i += k) {
		k = next_char(part + i, n - i, delimiter, &fit);
		if (!fit) {
			out[o++] = '_';
		} else if (part[i] != ' ' || (o && out[o - 1] != ' ')) {
			memcpy(out + o, part + i, k);
			o += k;
		}
	}
	return o;
}

/* Cut at a character's border, and no blank at the end. */
static size_t cut(const char *p, size_t n, size_t max)
{
	if (n > max)
		for (n = max; n && ((unsigned char)p[n] & 0xc0) == 0x80;)
			n--;
	while (n && p[n - 1] == ' ')
		n--;
	return n;
}

static void add_mark(const char *part, size_t n, struct buf *out)
{
	unsigned char digest[DIGEST];
	char hex[MARK];
	struct sha s;

	sha_init(&s);
	sha_add(&s, part, n);
	sha_end(&s, digest);
	buf_addf(out, "~%s", text_hex(hex, digest, (MARK - 1) / 2));
}

void name_part(const char *part, size_t n, char delimiter, struct buf *out)
{
	char fit[PART_MAX + 8];
	size_t o = 1;

	/* Room for a '_' in front, which "~", "#", ".", ".." and "" need. */
	fit[0] = '_';
	o += fit_chars(part, n, delimiter, fit + 1);
	o = 1 + cut(fit + 1, o - 1, PART_MAX);
	if (o > 1 && !strchr("~#", fit[1]) && !(o == 2 && fit[1] == '.') &&
		!(o == 3 && memcmp(fit + 1, "..", 2) == 0)) {
		o--;
		memmove(fit, fit + 1, o);
	}
	if (o == n && memcmp(fit, part, n) == 0 && !has_mark(part, n)) {
		buf_add(out, fit, o);
		return;
	}
	buf_add(out, fit, cut(fit, o, PART_MAX - MARK));
	add_mark(part, n, out);
}

void name_clean(const char *name, char delimiter, struct buf *out)
{
	size_t n, start = out->n;

	for (;; name += n + 1) {
		n = strcspn(name, "/");
		if (n) {
			if (out->n > start)
				buf_addc(out, '/');
			name_part(name, n, delimiter, out);
		}
		if (!name[n])
			return;
	}
}
