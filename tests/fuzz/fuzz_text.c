/* fuzz_text.c: what makes hostile bytes fit to print. */
#include "fuzz.h"

#include <popferry/buf.h>
#include <popferry/log.h>
#include <popferry/mail.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdlib.h>
#include <string.h>

enum { ALL_MAX = 1 << 20, GLOB_MAX = 200 };

static void check_clean(const char *p, size_t n, size_t cap)
{
	char *out = xmalloc(cap + 1);
	struct buf all = BUF_INIT(ALL_MAX);
	size_t len;

	text_clean_add(&all, p, n);
	must(is_clean(buf_str(&all), all.n));
	must(!memmem(buf_str(&all), all.n, "\xe2\x80\xae", 3));
	out[cap] = '!';
	must(text_clean(out, cap, p, n) == out && out[cap] == '!');
	if (cap) {
		len = strlen(out);
		must(len < cap && is_clean(out, len));
		must(all.n < cap ? len == all.n && memcmp(out, buf_str(&all), len) == 0
				 : cap < 4 || strcmp(out + len - 3, "...") == 0);
	}
	free(out);
	buf_free(&all);
}

/* A string of RFC 8259, in which nothing needs cleaning any more. */
static void check_json(const char *p, size_t n)
{
	struct buf b = BUF_INIT(ALL_MAX);
	size_t i;

	text_json(&b, p, n);
	must(b.n >= 2 && b.p[0] == '"' && b.p[b.n - 1] == '"' && is_clean(b.p, b.n));
	for (i = 1; i < b.n - 1; i++) {
		must(b.p[i] != '"');
		if (b.p[i] != '\\')
			continue;
		i++;
		must(i < b.n - 1 && strchr("\"\\u", b.p[i]));
		if (b.p[i] == 'u') {
			must(i + 4 < b.n - 1 &&
				strspn(b.p + i + 1, "0123456789abcdef") >= 4);
			i += 4;
		}
	}
	buf_free(&b);
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* By a table of which beginnings match which. */
static bool slow_glob(const char *pattern, const char *s, size_t n)
{
	bool row[GLOB_MAX + 1] = { true }, next[GLOB_MAX + 1];
	size_t i;

	for (; *pattern; pattern++) {
		next[0] = *pattern == '*' && row[0];
		for (i = 1; i <= n; i++)
			next[i] = *pattern == '*' ? row[i] || next[i - 1]
						  : row[i - 1] &&
					(*pattern == '?' ||
						lower(*pattern) == lower(s[i - 1]));
		memcpy(row, next, sizeof(row));
	}
	return row[n];
}

static void check_glob(const struct input *part, const struct input *rest)
{
	size_t n = rest->n < GLOB_MAX ? rest->n : GLOB_MAX;
	char *pattern = input_text(part);

	must(text_glob(pattern, rest->p, n) == slow_glob(pattern, rest->p, n));
	free(pattern);
}

static void check_codes(const char *p, size_t n)
{
	char *hex = xmalloc(2 * n + 1), *s = xmemdup0(p, n);
	unsigned char *back = xmalloc(n + 1);
	struct buf b = BUF_INIT(ALL_MAX);

	must(strlen(text_hex(hex, (const unsigned char *)p, n)) == 2 * n);
	must(text_unhex(back, n, hex) && memcmp(back, p, n) == 0);
	text_unhex(back, strlen(s) / 2, s);
	must(text_base64(&b, p, n) && b.n == (n + 2) / 3 * 4);
	free(hex);
	free(s);
	free(back);
	buf_free(&b);
}

static void check_decode(const char *p, size_t n)
{
	struct buf b = BUF_INIT(ALL_MAX), id = BUF_INIT(ALL_MAX);
	char *text = xmemdup0(p, n);

	if (mime_decode(text, n, &b))
		check_clean(buf_str(&b), b.n, 100);
	if (msgid_normal(p, n, &id))
		must(id.n > 2 && id.p[0] == '<' && id.p[id.n - 1] == '>');
	else
		must(id.n == 0);
	free(text);
	buf_free(&b);
	buf_free(&id);
}

static void check_err(const char *p, size_t n)
{
	struct err err = ERR_INIT;
	char *text = xmemdup0(p, n);

	must_tell(err_set(&err, ST_DENIED, EX_DATAERR, "x%s", text), &err);
	must_tell(err_note(&err, "%s", text), &err);
	err_reply(&err, p, n);
	must_tell(err_sys(&err, ST_FATAL, "%s", text), &err);
	log_warn(NULL, "fuzz", LOG_B("b", p, n), LOG_S("s", text));
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { (const char *)data, size }, rest, part;
	size_t cap = 2 * input_byte(&in);

	rest = in;
	part = input_part(&rest);
	if (rest.n)
		check_glob(&part, &rest);
	if (!in.n)
		return 0;
	check_clean(in.p, in.n, cap);
	check_json(in.p, in.n);
	check_codes(in.p, in.n);
	check_decode(in.p, in.n);
	check_err(in.p, in.n);
	return 0;
}
