/* head.c: a part's header: its fields, and what they say of the part. */
#include "own.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VALUE_MAX = 16 * 1024, PIECES_MAX = 100 };

/* ---- fields ---- */

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

/* The end of the field at s: the first line end that no blank follows. */
static size_t field_end(const char *s, size_t n)
{
	const char *end = s;

	for (;;) {
		end = memchr(end, '\n', n - (size_t)(end - s));
		if (!end)
			return n;
		end++;
		if (end == s + n || !blank(*end))
			return (size_t)(end - s);
	}
}

/* One line of it, without blanks around and with one for each fold. */
static void unfold(struct buf *out, const char *s, size_t n)
{
	size_t i = 0, k;

	while (i < n) {
		while (i < n && out->n == 0 && blank(s[i]))
			i++;
		for (k = i; k < n && s[k] != '\n' && s[k] != '\r'; k++)
			;
		buf_add(out, s + i, k - i);
		if (k < n && s[k] == '\r' && k + 1 < n && s[k + 1] != '\n')
			buf_addc(out, '\r');
		i = k + 1;
	}
	while (out->n && blank(out->p[out->n - 1]))
		out->p[--out->n] = '\0';
}

static size_t name_len(const char *s, size_t n)
{
	size_t i = 0;

	while (i < n && s[i] > ' ' && s[i] < 127 && s[i] != ':')
		i++;
	return i;
}

/* How long its name is, and where the ':' behind it; 0: it is no field. */
static size_t field_name(const char *head, size_t len, size_t *colon)
{
	size_t name = name_len(head, len);

	for (*colon = name; *colon < len && blank(head[*colon]); (*colon)++)
		;
	return *colon < len && head[*colon] == ':' ? name : 0;
}

void mime_fields(const char *head, size_t n,
	void (*field)(void *ctx, const char *name, size_t name_n, const char *value,
		size_t value_n),
	void *ctx)
{
	struct buf value = BUF_INIT(MIME_HEADER_MAX);

	while (n) {
		size_t colon, len = field_end(head, n),
			      name = field_name(head, len, &colon);

		buf_clear(&value);
		unfold(&value, name ? head + colon + 1 : head,
			name ? len - colon - 1 : len);
		if (name || value.n)
			field(ctx, head, name, buf_str(&value), value.n);
		head += len;
		n -= len;
	}
	buf_free(&value);
}

bool head_field(const char *head, size_t n, const char *name, struct buf *out)
{
	struct buf value = BUF_INIT(MIME_HEADER_MAX);
	size_t name_n = strlen(name), colon, len;
	bool found = false;

	buf_clear(out);
	for (; n && !found; head += len, n -= len) {
		len = field_end(head, n);
		found = field_name(head, len, &colon) == name_n &&
			text_same_n(head, name, name_n);
		if (found)
			unfold(&value, head + colon + 1, len - colon - 1);
	}
	buf_add(out, buf_str(&value), value.n < out->max ? value.n : out->max);
	buf_free(&value);
	return found;
}

/* ---- parameters: ; name=value; name="value" ---- */

static bool word_char(char c)
{
	return c > ' ' && c < 127 && !strchr("()<>@,;:\\\"/[]?=", c);
}

static void skip_space(const char **s, const char *end)
{
	unsigned depth = 0;

	for (; *s < end; (*s)++) {
		if (**s == '(')
			depth++;
		else if (**s == ')' && depth)
			depth--;
		else if (!depth && !blank(**s))
			return;
	}
}

/* Up to the ';' or the end. Real mail leaves out quotes where it must not. */
static void take_value(const char **s, const char *end, struct buf *out)
{
	bool quoted = *s < end && **s == '"';

	buf_clear(out);
	*s += quoted;
	for (; *s < end && **s != (quoted ? '"' : ';'); (*s)++) {
		if (quoted && **s == '\\' && *s + 1 < end)
			(*s)++;
		buf_addc(out, **s);
	}
	while (!quoted && out->n && blank(out->p[out->n - 1]))
		out->p[--out->n] = '\0';
	while (*s < end && **s != ';')
		(*s)++;
}

/* The parameter of exactly this name: "filename", "filename*", "filename*0". */
static bool param(const char *v, size_t n, const char *name, struct buf *out)
{
	const char *end = v + n, *s = memchr(v, ';', n);

	while (s && s < end) {
		const char *word;
		bool right;

		s++;
		skip_space(&s, end);
		word = s;
		while (s < end && word_char(*s))
			s++;
		right = (size_t)(s - word) == strlen(name) &&
			text_same_n(word, name, strlen(name));
		skip_space(&s, end);
		if (s < end && *s == '=')
			s++;
		else
			right = false;
		skip_space(&s, end);
		take_value(&s, end, out);
		if (right)
			return true;
	}
	return false;
}

static int digit(char c)
{
	return c >= '0' && c <= '9'    ? c - '0'
		: c >= 'A' && c <= 'F' ? c - 'A' + 10
		: c >= 'a' && c <= 'f' ? c - 'a' + 10
				       : -1;
}

static void unpercent(struct buf *out, const char *s, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (s[i] == '%' && i + 2 < n && digit(s[i + 1]) >= 0 &&
			digit(s[i + 2]) >= 0) {
			buf_addc(out, (char)(digit(s[i + 1]) << 4 | digit(s[i + 2])));
			i += 2;
		} else {
			buf_addc(out, s[i]);
		}
}

static void collect(void *ctx, const char *p, size_t n)
{
	buf_add(ctx, p, n);
}

/* charset'language'percent-encoded */
static void extended(struct buf *out, const struct buf *in)
{
	struct buf raw = BUF_INIT(VALUE_MAX);
	const char *s = buf_str(in), *lang = strchr(s, '\'');
	const char *text = lang ? strchr(lang + 1, '\'') : NULL;
	struct charset *c;
	char *set;

	buf_clear(out);
	if (!text) {
		unpercent(out, s, in->n);
	} else {
		text++;
		unpercent(&raw, text, in->n - (size_t)(text - s));
		set = xmemdup0(s, (size_t)(lang - s));
		charset_begin(&c, set, collect, out);
		charset_put(c, buf_str(&raw), raw.n);
		charset_end(&c);
		free(set);
	}
	buf_free(&raw);
}

/* name*0, name*1*, ... (RFC 2231 section 3) */
static bool pieces(const char *v, size_t n, const char *name, struct buf *out)
{
	struct buf all = BUF_INIT(VALUE_MAX), piece = BUF_INIT(VALUE_MAX);
	bool encoded = false;
	unsigned i;

	for (i = 0; i < PIECES_MAX; i++) {
		char part[64];

		snprintf(part, sizeof(part), "%s*%u*", name, i);
		if (param(v, n, part, &piece)) {
			encoded = true;
		} else {
			part[strlen(part) - 1] = '\0';
			if (!param(v, n, part, &piece))
				break;
		}
		buf_add(&all, buf_str(&piece), piece.n);
	}
	if (encoded) {
		extended(out, &all);
	} else {
		buf_clear(out);
		buf_add(out, buf_str(&all), all.n);
	}
	buf_free(&all);
	buf_free(&piece);
	return i > 0;
}

static bool parameter(const char *v, size_t n, const char *name, struct buf *out)
{
	struct buf raw = BUF_INIT(VALUE_MAX);
	char star[64];
	bool found;

	snprintf(star, sizeof(star), "%s*", name);
	found = param(v, n, star, &raw);
	if (found)
		extended(out, &raw);
	else
		found = pieces(v, n, name, out) || param(v, n, name, out);
	buf_free(&raw);
	return found;
}

/* ---- what it says ---- */

static void copy(char *out, size_t cap, const struct buf *b)
{
	size_t n = strnlen(buf_str(b), cap - 1);

	memcpy(out, buf_str(b), n);
	out[n] = '\0';
}

static void lower(char *s)
{
	for (; *s; s++)
		if (*s >= 'A' && *s <= 'Z')
			*s = (char)(*s - 'A' + 'a');
}

/* "text/plain" of a Content-Type, if it looks like one. */
static bool type_of(const char *v, size_t n, char out[MIME_WORD])
{
	size_t i = 0, slash = 0;

	while (i < n && i < MIME_WORD - 1 &&
		(word_char(v[i]) || (v[i] == '/' && !slash))) {
		if (v[i] == '/')
			slash = i;
		i++;
	}
	if (!slash || slash + 1 == i || slash == 0)
		return false;
	memcpy(out, v, i);
	out[i] = '\0';
	lower(out);
	return true;
}

static void name_of(struct mime_part *part, const struct buf *v, const char *param_name,
	struct buf *word)
{
	struct buf shown = BUF_INIT(VALUE_MAX);

	if (!part->name[0] && parameter(buf_str(v), v->n, param_name, word)) {
		/* Encoded words have no business here, and are common. */
		if (!mime_decode(buf_str(word), word->n, &shown))
			buf_clear(&shown);
		copy(part->name, sizeof(part->name), shown.n ? &shown : word);
	}
	buf_free(&shown);
}

static bool starts(const struct buf *v, const char *word)
{
	return v->n >= strlen(word) && text_same_n(buf_str(v), word, strlen(word));
}

static enum encoding encoding_of(const struct buf *v)
{
	size_t n = strcspn(buf_str(v), " \t;");

	if (n == 6 && text_same_n(buf_str(v), "base64", n))
		return ENC_BASE64;
	if (n == 16 && text_same_n(buf_str(v), "quoted-printable", n))
		return ENC_QP;
	return ENC_NONE;
}

void head_said(const char *head, size_t n, struct mime_part *part, struct said *said)
{
	struct buf v = BUF_INIT(VALUE_MAX), word = BUF_INIT(VALUE_MAX);

	memset(said, 0, sizeof(*said));
	snprintf(part->type, sizeof(part->type), "text/plain");
	if (head_field(head, n, "Content-Disposition", &v)) {
		part->attachment = starts(&v, "attachment");
		name_of(part, &v, "filename", &word);
	}
	if (head_field(head, n, "Content-Type", &v)) {
		if (!type_of(buf_str(&v), v.n, part->type) && v.n &&
			!starts(&v, "text"))
			snprintf(part->type, sizeof(part->type),
				"application/octet-stream");
		if (parameter(buf_str(&v), v.n, "charset", &word))
			copy(part->charset, sizeof(part->charset), &word);
		name_of(part, &v, "name", &word);
		if (text_starts(part->type, "multipart/") &&
			parameter(buf_str(&v), v.n, "boundary", &word))
			copy(said->boundary, sizeof(said->boundary), &word);
	}
	part->multipart = said->boundary[0] != '\0';
	/* A multipart has no encoding (RFC 2045 section 6.4), whatever it says. */
	if (!part->multipart && head_field(head, n, "Content-Transfer-Encoding", &v))
		said->encoding = encoding_of(&v);
	buf_free(&v);
	buf_free(&word);
}
