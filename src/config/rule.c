/* rule.c: the sections [rule NAME] and the folder templates they name. */
#include "own.h"

#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdlib.h>
#include <string.h>

/* Keys of a rule that are a test of one value; header tests have their own. */
static const struct {
	const char *key;
	enum test_kind kind;
	enum setting_type type;
} tests[] = {
	{ "from-me", TEST_FROM_ME, SET_BOOL },
	{ "to-me", TEST_TO_ME, SET_BOOL },
	{ "since", TEST_SINCE, SET_DAY },
	{ "before", TEST_BEFORE, SET_DAY },
	{ "min-size", TEST_MIN_SIZE, SET_SIZE },
	{ "max-size", TEST_MAX_SIZE, SET_SIZE },
};

/* Header tests with a short name. */
static const char *const shorthands[][2] = {
	{ "from", "From" },
	{ "to", "To" },
	{ "subject", "Subject" },
};

static const char *const other_keys[] = { "folder", "action", "header.List-Id" };

static const struct word actions[] = {
	{ "skip", 0 },
	{ NULL, 0 },
};

static enum status add_test(struct rule *r, const struct rule_test *t,
	const struct spot *at, struct err *err)
{
	size_t i;

	if (r->n_tests == RULE_TESTS_MAX)
		return spot_bad(
			at, err, "a rule can have at most %d tests", RULE_TESTS_MAX);
	for (i = 0; i < r->n_tests; i++)
		if (t->kind != TEST_HEADER && r->tests[i].kind == t->kind)
			return spot_bad(at, err, "is given twice in this rule");
	r->tests = xreallocarray(r->tests, r->n_tests + 1, sizeof(*t));
	r->tests[r->n_tests++] = *t;
	return ST_OK;
}

/* RFC 5322 field names: printable ASCII without the colon. */
static bool field_name(const char *s)
{
	size_t n = strlen(s), i;

	for (i = 0; i < n; i++)
		if ((unsigned char)s[i] <= ' ' || (unsigned char)s[i] > '~' ||
			s[i] == ':')
			return false;
	return n > 0;
}

static enum status add_header(struct rule *r, const char *name, const char *pattern,
	const struct spot *at, struct err *err)
{
	struct rule_test t = { .kind = TEST_HEADER };
	enum status rc;

	if (!field_name(name))
		return spot_bad(at, err,
			"expected the name of a header field after \"header.\", as in "
			"header.List-Id");
	rc = text_put(&t.pattern, pattern, at, err);
	if (rc < 0)
		return rc;
	t.header = xstrdup(name);
	rc = add_test(r, &t, at, err);
	if (rc < 0) {
		free(t.header);
		free(t.pattern);
	}
	return rc;
}

static enum status add_value(struct rule *r, size_t row, const char *value,
	const struct spot *at, struct err *err)
{
	struct rule_test t = { .kind = tests[row].kind };
	struct setting s = { .type = tests[row].type };
	bool yes = false;
	uint64_t size = 0;
	enum status rc;

	s.words = yes_no;
	s.hi = INT64_MAX;
	if (s.type == SET_BOOL)
		rc = setting_put(&yes, &s, value, at, err);
	else if (s.type == SET_SIZE)
		rc = setting_put(&size, &s, value, at, err);
	else
		rc = setting_put(&t.value, &s, value, at, err);
	if (rc < 0)
		return rc;
	if (s.type == SET_BOOL)
		t.value = yes;
	else if (s.type == SET_SIZE)
		t.value = (int64_t)size;
	return add_test(r, &t, at, err);
}

static enum status target(struct rule *r, const char *key, const char *value,
	const struct spot *at, struct err *err)
{
	enum status rc;
	unsigned word;

	if (r->folder || r->skip)
		return spot_bad(at, err,
			"this rule already says what to do; one of folder and action, "
			"once");
	if (!strcmp(key, "folder"))
		return template_put(&r->folder, value, at, err);
	rc = word_find(actions, value, &word, at, err);
	if (rc >= 0)
		r->skip = true;
	return rc;
}

static enum status unknown(const char *key, const struct spot *at, struct err *err)
{
	struct nearest n = NEAREST(key);
	size_t i;

	for (i = 0; i < N_ELEMENTS(tests); i++)
		nearest_offer(&n, tests[i].key);
	for (i = 0; i < N_ELEMENTS(shorthands); i++)
		nearest_offer(&n, shorthands[i][0]);
	for (i = 0; i < N_ELEMENTS(other_keys); i++)
		nearest_offer(&n, other_keys[i]);
	if (n.best)
		return spot_bad(at, err, "a rule has no such key; did you mean \"%s\"?",
			n.best);
	return spot_bad(at, err,
		"a rule has no such key; expected header.NAME, from, to, subject, "
		"from-me, to-me, since, before, min-size, max-size, folder or action");
}

enum status rule_put(struct rule *r, const char *key, const char *value,
	const struct spot *at, struct err *err)
{
	size_t i;

	if (text_starts(key, "header."))
		return add_header(r, key + strlen("header."), value, at, err);
	for (i = 0; i < N_ELEMENTS(shorthands); i++)
		if (!strcmp(shorthands[i][0], key))
			return add_header(r, shorthands[i][1], value, at, err);
	for (i = 0; i < N_ELEMENTS(tests); i++)
		if (!strcmp(tests[i].key, key))
			return add_value(r, i, value, at, err);
	if (!strcmp(key, "folder") || !strcmp(key, "action"))
		return target(r, key, value, at, err);
	return unknown(key, at, err);
}

enum status rule_check(const struct rule *r, const struct spot *at, struct err *err)
{
	if (!r->folder && !r->skip)
		return spot_bad(at, err,
			"the rule \"%.60s\" does not say what to do; give it folder = NAME "
			"or action = skip",
			r->name);
	/* Without a test it would take every message: with skip, all mail. */
	if (!r->n_tests)
		return spot_bad(at, err,
			"the rule \"%.60s\" has no test and would take every message; the setting "
			"folder before the first section is for the rest",
			r->name);
	return ST_OK;
}

void rule_release(struct rule *r)
{
	size_t i;

	for (i = 0; i < r->n_tests; i++) {
		free(r->tests[i].header);
		free(r->tests[i].pattern);
	}
	free(r->tests);
	free(r->folder);
	free(r->name);
	*r = (struct rule){ 0 };
}

/* RFC 6154 and RFC 8457, spelt as servers list them. */
static const char *const specials[] = { "All", "Archive", "Drafts", "Flagged",
	"Important", "Junk", "Sent", "Trash" };

static enum status special_put(
	char **field, const char *name, const struct spot *at, struct err *err)
{
	size_t i;

	for (i = 0; i < N_ELEMENTS(specials); i++)
		if (text_same(specials[i], name)) {
			free(*field);
			*field = xasprintf("special:%s", specials[i]);
			return ST_OK;
		}
	return spot_bad(at, err,
		"expected special: and one of All, Archive, Drafts, Flagged, Important, "
		"Junk, Sent, Trash, not \"%.60s\"",
		name);
}

enum status template_put(
	char **field, const char *value, const struct spot *at, struct err *err)
{
	const char *p;

	if (strlen(value) > TEMPLATE_MAX)
		return spot_bad(at, err, "a folder name can have at most %d bytes",
			TEMPLATE_MAX);
	if (text_starts(value, "special:"))
		return special_put(field, value + strlen("special:"), at, err);
	for (p = value; (p = strchr(p, '%')); p += 2)
		if (!p[1] || !strchr("Ymdlsa%", p[1]))
			return spot_bad(at, err,
				"unknown \"%%%.1s\" in the folder name; expected %%Y "
				"(year), %%m (month), %%d (day), %%l (list), %%s "
				"(sender's domain), %%a (sender) or %%%%",
				p + 1);
	return text_put(field, value, at, err);
}
