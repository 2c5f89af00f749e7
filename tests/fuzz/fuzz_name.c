/* fuzz_name.c: folder names, made fit for servers and spelt in UTF-7. */
#include "fuzz.h"

#include <popferry/mail.h>
#include <popferry/mem.h>

#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 1 << 20, PART_MAX = 64 };

static const char delimiters[] = { '\0', '/', '.', '\\' };

static bool is_utf8(const char *s)
{
	size_t n = strlen(s), len;

	for (; n; s += len, n -= len)
		if (!(len = utf8_at(s, n)))
			return false;
	return true;
}

static bool is_ascii(const char *s)
{
	for (; *s; s++)
		if (*s < ' ' || *s > '~')
			return false;
	return true;
}

/* What is encoded can be decoded, and what is decoded has one spelling. */
static void check_utf7(const char *s)
{
	struct buf a = BUF_INIT(NAMES_MAX), b = BUF_INIT(NAMES_MAX);

	if (utf7_encode(s, &a)) {
		must(is_utf8(s) && is_ascii(buf_str(&a)));
		must(utf7_decode(buf_str(&a), &b) && strcmp(buf_str(&b), s) == 0);
	} else {
		must(!is_utf8(s) && a.n == 0);
	}
	buf_clear(&a);
	buf_clear(&b);
	if (utf7_decode(s, &a)) {
		must(is_ascii(s) && is_utf8(buf_str(&a)));
		must(utf7_encode(buf_str(&a), &b) && strcmp(buf_str(&b), s) == 0);
	} else {
		must(a.n == 0);
	}
	buf_free(&a);
	buf_free(&b);
}

static void check_part(const char *p, size_t n, char delimiter)
{
	must(n > 0 && n <= PART_MAX && is_clean(p, n));
	must(p[0] != ' ' && p[n - 1] != ' ' && p[0] != '~' && p[0] != '#');
	must(!memmem(p, n, "  ", 2));
	must(!(n == 1 && *p == '.') && !(n == 2 && memcmp(p, "..", 2) == 0));
	must(!delimiter || !memchr(p, delimiter, n));
	for (; n; p++, n--)
		must(!strchr("/\\%*\"^", *p));
}

/* Each part is fit; a name without a change is its own clean form. */
static void check_clean(const char *s, char delimiter)
{
	struct buf a = BUF_INIT(NAMES_MAX), b = BUF_INIT(NAMES_MAX);
	const char *p;
	size_t n;

	name_clean(s, delimiter, &a);
	must(a.n > 0 || s[strspn(s, "/")] == '\0');
	for (p = buf_str(&a); *p; p += n + (p[n] == '/')) {
		n = strcspn(p, "/");
		check_part(p, n, delimiter);
		must(p[n] != '/' || p[n + 1]);
	}
	name_clean(s, delimiter, &b);
	must(strcmp(buf_str(&a), buf_str(&b)) == 0);
	if (strcmp(buf_str(&a), s) == 0) {
		buf_clear(&b);
		name_clean(buf_str(&a), delimiter, &b);
		must(strcmp(buf_str(&a), buf_str(&b)) == 0);
	}
	check_utf7(buf_str(&a));
	buf_free(&a);
	buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { (const char *)data, size };
	struct buf part = BUF_INIT(NAMES_MAX);
	char delimiter = delimiters[input_byte(&in) % sizeof(delimiters)];
	char *s = input_text(&in);

	check_utf7(s);
	check_clean(s, delimiter);
	/* A part may hold anything, NUL as well. */
	name_part(in.n ? in.p : "", in.n, delimiter, &part);
	check_part(buf_str(&part), part.n, delimiter);
	buf_free(&part);
	free(s);
	return 0;
}
