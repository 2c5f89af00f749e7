/* msgid.c: one spelling for each Message-ID. */
#include <popferry/mail.h>

#include <string.h>

/* The first '<' that is not in a comment; NULL when there is none. */
static const char *opening(const char *p, const char *end)
{
	size_t depth = 0;

	for (; p < end; p++) {
		if (*p == '\\' && p + 1 < end)
			p++;
		else if (*p == '(')
			depth++;
		else if (*p == ')' && depth)
			depth--;
		else if (*p == '<' && depth == 0)
			return p;
	}
	return NULL;
}

bool msgid_normal(const char *p, size_t n, struct buf *out)
{
	const char *end = p + n, *s, *close;
	size_t start = out->n;
	bool ok;

	if (n == 0)
		return false;
	s = opening(p, end);
	if (!s)
		s = memchr(p, '<', n); /* a comment that never closes */
	p = s ? s + 1 : p;
	close = memchr(p, '>', (size_t)(end - p));
	/* Some stores add the brackets that were missing, so they are normal. */
	ok = buf_addc(out, '<');
	for (s = p; ok && s < (close ? close : end); s++) {
		unsigned char c = (unsigned char)*s;

		if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
			continue;
		ok = c >= ' ' && c != 0x7f && buf_addc(out, *s);
	}
	ok = ok && out->n > start + 1 && buf_addc(out, '>');
	if (!ok && out->n > start) {
		out->n = start;
		out->p[start] = '\0';
	}
	return ok;
}
