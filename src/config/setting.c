/* setting.c: one row of a table and a text become a typed field, or an error. */
#include "own.h"

#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 60 };

const struct word yes_no[] = {
	{ "yes", 1 },
	{ "no", 0 },
	{ NULL, 0 },
};

enum status spot_bad(const struct spot *at, struct err *err, const char *fmt, ...)
{
	char text[ERR_TEXT];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	err_set(err, ST_DENIED, EX_USAGE, "%s", text);
	return spot_note(at, err);
}

enum status spot_note(const struct spot *at, struct err *err)
{
	if (!err)
		return ST_DENIED;
	if (at->key && strchr(at->where, ':')) /* a place in a file names no key */
		err_note(err, "%.60s", at->key);
	return err_note(err, "%s", at->where);
}

const struct setting *setting_find(
	const struct setting *table, size_t n, const char *key)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!strcmp(table[i].key, key))
			return &table[i];
	return NULL;
}

enum status word_find(const struct word *words, const char *value, unsigned *out,
	const struct spot *at, struct err *err)
{
	struct buf list = BUF_INIT(ERR_TEXT);
	const struct word *w;

	for (w = words; w->name; w++) {
		if (!strcmp(w->name, value)) {
			*out = w->value;
			buf_free(&list);
			return ST_OK;
		}
		buf_addf(&list, "%s%s", list.n ? ", " : "", w->name);
	}
	spot_bad(at, err, "expected one of %s, not \"%.*s\"", buf_str(&list), SHOWN,
		value);
	buf_free(&list);
	return ST_DENIED;
}

enum status text_put(
	char **field, const char *value, const struct spot *at, struct err *err)
{
	size_t n = strlen(value);

	if (!n)
		return spot_bad(at, err, "expected a value, and there is none");
	if (n > VALUE_MAX)
		return spot_bad(at, err,
			"the value has %zu bytes, at most %d are possible", n,
			VALUE_MAX);
	if (has_control(value, n))
		return spot_bad(at, err, "the value holds control characters");
	free(*field);
	*field = xstrdup(value);
	return ST_OK;
}

static enum status host_put(
	char **field, const char *value, const struct spot *at, struct err *err)
{
	const char *fault = host_fault(value, strlen(value));

	if (fault)
		return spot_bad(
			at, err, "expected a host name or an address: %s", fault);
	return text_put(field, value, at, err);
}

static enum status number_put(const struct setting *s, const char *value, uint64_t *out,
	const struct spot *at, struct err *err)
{
	if (parse_number(value, s->lo, s->hi, out))
		return ST_OK;
	return spot_bad(at, err,
		"expected a number from %" PRIu64 " to %" PRIu64 ", not \"%.*s\"",
		s->lo, s->hi, SHOWN, value);
}

static enum status size_put(const struct setting *s, const char *value, uint64_t *out,
	const struct spot *at, struct err *err)
{
	char lo[16], hi[16];
	uint64_t v;

	if (!parse_size(value, &v) || v < s->lo || v > s->hi)
		return spot_bad(at, err,
			"expected a size from %s to %s, like 512k or 35M, not \"%.*s\"",
			text_bytes(lo, s->lo), text_bytes(hi, s->hi), SHOWN, value);
	*out = v;
	return ST_OK;
}

enum status setting_put(void *base, const struct setting *s, const char *value,
	const struct spot *at, struct err *err)
{
	void *field = (char *)base + s->at;
	enum status rc = ST_OK;
	uint64_t number;
	unsigned word;

	switch (s->type) {
	case SET_TEXT:
		return text_put(field, value, at, err);
	case SET_HOST:
		return host_put(field, value, at, err);
	case SET_FORM:
		rc = word_find(s->words, value, &word, at, err);
		return rc < 0 ? rc : text_put(field, value, at, err);
	case SET_UINT:
		rc = number_put(s, value, &number, at, err);
		if (rc >= 0)
			*(unsigned *)field = (unsigned)number;
		return rc;
	case SET_COUNT:
		return number_put(s, value, field, at, err);
	case SET_SIZE:
		return size_put(s, value, field, at, err);
	case SET_DAY:
		if (!parse_day(value, clock_utc(), field))
			rc = spot_bad(at, err,
				"expected a date like 2024-03-01, or an age like 30d, "
				"6w or 1y, not \"%.*s\"",
				SHOWN, value);
		return rc;
	case SET_WORD:
		return word_find(s->words, value, field, at, err);
	case SET_BOOL:
		rc = word_find(s->words, value, &word, at, err);
		if (rc >= 0)
			*(bool *)field = word;
		return rc;
	case SET_BY:
		break;
	}
	return err_set(err, ST_FATAL, EX_SOFTWARE, "%s: no value can be set", s->key);
}
