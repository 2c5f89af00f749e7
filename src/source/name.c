/* name.c: a file's name: is it a message, in which folder, with which flags? */
#include "files.h"

#include <popferry/text.h>

#include <string.h>

static bool part_is(const char *p, size_t n, const char *word)
{
	return n == strlen(word) && memcmp(p, word, n) == 0;
}

/* "1700000000.M1P2.host,S=7:2,FS": where the flags start. */
static size_t flags_at(const char *p, size_t n)
{
	size_t i = n;

	while (i > 2) {
		i--;
		if (p[i] == ',' && p[i - 1] == '2' && p[i - 2] == ':')
			return i - 2;
	}
	return n;
}

/* T and P are no flags of a message that is kept: it was thrown away, or passed on. */
static void read_flags(const char *p, size_t n, struct name *out)
{
	size_t i;

	for (i = 0; i < n; i++) {
		out->seen |= p[i] == 'S';
		out->answered |= p[i] == 'R';
		out->flagged |= p[i] == 'F';
		out->draft |= p[i] == 'D';
	}
}

static bool ends_in_eml(const char *p, size_t n)
{
	return n > 4 && text_same_n(p + n - 4, ".eml", 4);
}

void name_read(const char *path, size_t n, struct name *out)
{
	const char *base = path + n, *dir;

	*out = (struct name){ 0 };
	while (base > path && base[-1] != '/')
		base--;
	out->base = (size_t)(base - path);
	out->base_n = n - out->base;
	out->dir_n = out->base ? out->base - 1 : 0;
	dir = path + out->dir_n;
	while (dir > path && dir[-1] != '/')
		dir--;
	if (!out->base_n || *base == '.')
		return;
	n = (size_t)(path + out->dir_n - dir);
	if (ends_in_eml(base, out->base_n)) {
		out->kind = NAME_EML;
	} else if (part_is(dir, n, "cur") || part_is(dir, n, "new")) {
		out->kind = NAME_MAILDIR;
		out->dir_n = dir > path ? (size_t)(dir - path) - 1 : 0;
		n = flags_at(base, out->base_n);
		read_flags(base + n, out->base_n - n, out);
		out->base_n = n;
	}
}

static void add_part(const char *p, size_t n, bool decode, struct buf *out)
{
	struct buf raw = BUF_INIT(PATH_BYTES), text = BUF_INIT(2 * PATH_BYTES);

	if (out->n)
		buf_addc(out, '/');
	buf_add(&raw, p, n);
	if (decode && utf7_decode(buf_str(&raw), &text))
		buf_add(out, buf_str(&text), text.n);
	else
		buf_add(out, p, n);
	buf_free(&raw);
	buf_free(&text);
}

static size_t to_next(const char *p, size_t n, char mark)
{
	const char *at = memchr(p, mark, n);

	return at ? (size_t)(at - p) : n;
}

/* ".Sent.2020" of a Maildir++: its dots part the levels. */
static void add_levels(const char *p, size_t n, struct buf *out)
{
	while (n) {
		size_t k = to_next(p, n, '.');

		if (k)
			add_part(p, k, true, out);
		k += k < n;
		p += k;
		n -= k;
	}
}

void name_folder(const char *dir, size_t n, bool maildir, struct buf *out)
{
	while (n) {
		size_t k = to_next(dir, n, '/');

		if (part_is(dir, k, "") || part_is(dir, k, ".") ||
			part_is(dir, k, ".."))
			;
		else if (maildir && *dir == '.')
			add_levels(dir, k, out);
		else
			add_part(dir, k, maildir, out);
		k += k < n;
		dir += k;
		n -= k;
	}
}

int64_t name_time(const char *base, size_t n)
{
	int64_t t = 0;
	size_t i;

	for (i = 0; i < n && i < 11 && base[i] >= '0' && base[i] <= '9'; i++)
		t = 10 * t + (base[i] - '0');
	return (i == 9 || i == 10) && i < n && base[i] == '.' ? t : 0;
}
