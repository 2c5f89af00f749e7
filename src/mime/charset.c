/* charset.c: to UTF-8, by the C library's iconv. */
#include <popferry/mem.h>
#include <popferry/mime.h>
#include <popferry/text.h>

#include <errno.h>
#include <iconv.h>
#include <stdlib.h>
#include <string.h>

enum { HELD_MAX = 32, OUT = 4096, IN = 1024 };
static const char unknown[] = "\xef\xbf\xbd";

struct charset {
	iconv_t cd;
	bool works;
	mail_take *take;
	void *ctx;
	char held[HELD_MAX]; /* a character that is not whole yet */
	size_t held_n;
};

/* A name from the mail must not be a path or an option of iconv. */
static bool decent(const char *name)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"0123456789-_.:";
	size_t n = strlen(name);

	return n > 0 && n < 40 && name[0] != '.' && strspn(name, allowed) == n;
}

/* Those that are UTF-8 already, or near enough. */
static bool as_it_is(const char *name)
{
	static const char *const names[] = { "us-ascii", "ascii", "ansi_x3.4-1968" };
	size_t i;

	for (i = 0; i < N_ELEMENTS(names); i++)
		if (text_same(name, names[i]))
			return true;
	return false;
}

void charset_begin(struct charset **out, const char *name, mail_take *take, void *ctx)
{
	struct charset *c = xcalloc(1, sizeof(*c));

	c->take = take;
	c->ctx = ctx;
	if (decent(name) && !as_it_is(name)) {
		c->cd = iconv_open("UTF-8", name);
		c->works = c->cd != (iconv_t)-1;
	}
	*out = c;
}

/* Converts what is whole; returns how many bytes are left. */
static size_t convert(struct charset *c, char *in, size_t n)
{
	char out[OUT];

	while (n) {
		char *to = out;
		size_t room = sizeof(out);
		size_t rc = iconv(c->cd, &in, &n, &to, &room);

		if (to != out)
			c->take(c->ctx, out, (size_t)(to - out));
		if (rc != (size_t)-1)
			continue;
		if (errno == EINVAL)
			return n;
		if (errno == EILSEQ) {
			c->take(c->ctx, unknown, sizeof(unknown) - 1);
			in++;
			n--;
		} else if (to == out) { /* a kilobyte is no room for it */
			in++;
			n--;
		}
	}
	return 0;
}

void charset_put(struct charset *c, const char *p, size_t n)
{
	if (!c->works) {
		if (n)
			c->take(c->ctx, p, n);
		return;
	}
	while (n) {
		char in[HELD_MAX + IN];
		size_t k = n < IN ? n : IN, left;

		memcpy(in, c->held, c->held_n);
		memcpy(in + c->held_n, p, k);
		p += k;
		n -= k;
		k += c->held_n;
		left = convert(c, in, k);
		/* No character is that long: the first byte of it is wrong. */
		if (left > HELD_MAX)
			left = HELD_MAX;
		memcpy(c->held, in + k - left, left);
		c->held_n = left;
	}
}

void charset_end(struct charset **cp)
{
	struct charset *c = *cp;

	if (!c)
		return;
	if (c->works) {
		char out[64], *to = out;
		size_t room = sizeof(out);

		if (c->held_n)
			c->take(c->ctx, unknown, sizeof(unknown) - 1);
		iconv(c->cd, NULL, NULL, &to, &room);
		if (to != out)
			c->take(c->ctx, out, (size_t)(to - out));
		iconv_close(c->cd);
	}
	free(c);
	*cp = NULL;
}
