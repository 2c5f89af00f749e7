/* json.c: values by their keys. Everything may be hostile: it ends at the NUL. */
#include "json.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Behind the value that starts at s: a string, a word or number, or an object
 * or list (passed over). NULL when it is none.
 */
static const char *value_end(const char *s)
{
	int depth = 0;

	do {
		s += strspn(s, " \t\r\n,:");
		if (*s == '"') {
			for (s++; *s && *s != '"'; s++)
				if (*s == '\\' && s[1])
					s++;
			if (*s++ != '"')
				return NULL;
		} else if (*s == '{' || *s == '[') {
			depth++;
			s++;
		} else if (*s == '}' || *s == ']') {
			depth--;
			s++;
		} else {
			size_t n = strcspn(s, " \t\r\n,:{}[]\"");

			if (n == 0)
				return NULL;
			s += n;
		}
	} while (depth > 0);
	return depth == 0 ? s : NULL;
}

/* Copies a string's or number's text; false when too long or escaped. */
static bool copy_token(char out[TOKEN_MAX], const char *s, const char *end)
{
	if (*s == '"') {
		s++;
		end--;
	}
	if ((size_t)(end - s) >= TOKEN_MAX || memchr(s, '\\', (size_t)(end - s)))
		return false;
	memcpy(out, s, (size_t)(end - s));
	out[end - s] = '\0';
	return true;
}

/* The value of a key of the object s. */
static const char *member(
	const char *s, const char *key, size_t key_n, const char **end)
{
	char name[TOKEN_MAX];

	s += strspn(s, " \t\r\n");
	if (*s++ != '{')
		return NULL;
	for (;;) {
		const char *value;

		s += strspn(s, " \t\r\n,");
		*end = *s == '"' ? value_end(s) : NULL;
		if (!*end || !copy_token(name, s, *end))
			return NULL;
		value = *end + strspn(*end, " \t\r\n");
		if (*value++ != ':')
			return NULL;
		value += strspn(value, " \t\r\n");
		*end = value_end(value);
		if (!*end)
			return NULL;
		if (strlen(name) == key_n && memcmp(name, key, key_n) == 0)
			return value;
		s = *end;
	}
}

const char *json_at(const char *s, const char *path, const char **end)
{
	while (s) {
		size_t n = strcspn(path, ".");

		s = member(s, path, n, end);
		if (path[n] == '\0')
			break;
		path += n + 1;
	}
	return s;
}

bool json_get(char out[TOKEN_MAX], const char *s, const char *path)
{
	const char *end, *value = json_at(s, path, &end);

	return value && copy_token(out, value, end);
}

bool json_number(uint64_t *out, const char *s, const char *path)
{
	char t[TOKEN_MAX], *end;

	if (!json_get(t, s, path) || t[0] < '0' || t[0] > '9')
		return false;
	errno = 0;
	*out = strtoull(t, &end, 10);
	return *end == '\0' && errno == 0;
}

bool json_hex(unsigned char *out, size_t n, const char *s, const char *path)
{
	char t[TOKEN_MAX];

	return json_get(t, s, path) && text_unhex(out, n, t);
}

/* ---- texts ---- */

/* The character of four hex digits. */
static char *put_character(char *o, const char *hex)
{
	char digits[5] = { hex[0], hex[1], hex[2], hex[3], '\0' };
	unsigned long c = strtoul(digits, NULL, 16);

	if (c < 0x80) {
		*o++ = (char)c;
	} else if (c < 0x800) {
		*o++ = (char)(0xc0 | c >> 6);
		*o++ = (char)(0x80 | (c & 0x3f));
	} else {
		*o++ = (char)(0xe0 | c >> 12);
		*o++ = (char)(0x80 | (c >> 6 & 0x3f));
		*o++ = (char)(0x80 | (c & 0x3f));
	}
	return o;
}

/* The string from s to end, with its quotes, as text_json() writes it. */
static char *unescape(const char *s, const char *end)
{
	char *out = xmalloc((size_t)(end - s) + 1), *o = out;

	for (s++; s < end - 1; s++) {
		if (*s == '\\' && end - s > 6 && s[1] == 'u') {
			o = put_character(o, s + 2);
			s += 5;
		} else {
			s += *s == '\\';
			*o++ = *s;
		}
	}
	*o = '\0';
	return out;
}

char *json_text(const char *s, const char *path)
{
	const char *end, *value = json_at(s, path, &end);

	return value && *value == '"' ? unescape(value, end) : NULL;
}

/* Behind the string that starts at s, or NULL. */
static const char *string_end(const char *s)
{
	if (*s != '"')
		return NULL;
	for (s++; *s && *s != '"'; s++)
		if (*s == '\\' && s[1])
			s++;
	return *s ? s + 1 : NULL;
}

char **json_texts(const char *s, const char *path, size_t *n)
{
	const char *end, *value = json_at(s, path, &end), *after;
	char **out = NULL;

	*n = 0;
	if (!value || *value != '[')
		return NULL;
	for (value++; (after = string_end(value)) && after <= end;
		value = after + (*after == ',')) {
		out = xreallocarray(out, *n + 1, sizeof(*out));
		out[(*n)++] = unescape(value, after);
	}
	return out;
}

void json_texts_free(char ***texts, size_t n)
{
	while (n)
		free((*texts)[--n]);
	free(*texts);
	*texts = NULL;
}
