/* retention.c: classes, each defined by the newest record of its name. */
#include "../form/custody.h"
#include "../form/json.h"
#include "keeping.h"

#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char kind[] = "retention", type[] = "mail-archive-retention/1";
enum { TERM_MAX = 100000 };

/* ---- reading ---- */

static bool get_term(struct archive_class *c, const char *text)
{
	uint64_t n;
	char *until;

	if (json_number(&n, text, "days") && n <= TERM_MAX) {
		c->days = (unsigned)n;
		return true;
	}
	if (json_number(&n, text, "years") && n <= TERM_MAX) {
		c->years = (unsigned)n;
		return true;
	}
	until = json_text(text, "until");
	if (until)
		c->until = date_parse(until, strlen(until)).utc;
	free(until);
	return c->until != 0;
}

static struct archive_class *class_named(struct archive_keeping *k, const char *name)
{
	size_t i;

	for (i = 0; i < k->classes_n; i++)
		if (strcmp(k->classes[i].name, name) == 0)
			return &k->classes[i];
	return NULL;
}

static void class_free(struct archive_class *c, struct rule *r)
{
	free((char *)(uintptr_t)c->name);
	free((char *)(uintptr_t)c->authority);
	json_texts_free(&r->words, r->words_n);
}

static enum status get_class(struct archive_class *c, struct rule *r, unsigned no,
	const char *text, const char *words, struct err *err)
{
	char from[TOKEN_MAX], fallback[TOKEN_MAX];

	*c = (struct archive_class){ .name = json_text(words, "class"),
		.authority = json_text(words, "authority"),
		.from_date = json_get(from, text, "from") && strcmp(from, "date") == 0,
		.fallback = json_get(fallback, text, "default") &&
			strcmp(fallback, "true") == 0 };
	rule_words(r, words);
	c->words = r->words;
	c->words_n = r->words_n;
	if (c->name && get_term(c, text))
		return ST_OK;
	class_free(c, r);
	return err_set(err, ST_DENIED, EX_DATAERR,
		"policy/retention-%06u.json is damaged: put it back from a copy of the "
		"archive",
		no);
}

enum status class_take(
	struct archive_keeping *k, unsigned no, const char *text, struct err *err)
{
	struct archive_class c, *old;
	struct rule r = { 0 };
	char *words = NULL;
	size_t i;
	enum status rc = secret_read(&words, text, k->vault, err);

	if (rc != ST_OK)
		return err_note(err, "policy/retention-%06u.json", no);
	rc = get_class(&c, &r, no, text, words, err);
	free(words);
	if (rc != ST_OK)
		return rc;
	old = class_named(k, c.name);
	i = old ? (size_t)(old - k->classes) : k->classes_n;
	if (old) {
		class_free(old, &k->class_rules[i]);
	} else {
		k->classes_n++;
		k->classes = xreallocarray(
			k->classes, k->classes_n, sizeof(*k->classes));
		k->class_rules = xreallocarray(
			k->class_rules, k->classes_n, sizeof(*k->class_rules));
	}
	k->classes[i] = c;
	k->class_rules[i] = r;
	return ST_OK;
}

/* ---- writing ---- */

static bool same_words(const struct archive_class *a, const struct archive_class *b)
{
	size_t i;

	if (a->words_n != b->words_n)
		return false;
	for (i = 0; i < a->words_n; i++)
		if (strcmp(a->words[i], b->words[i]) != 0)
			return false;
	return true;
}

/* Whether it keeps everything that the one before kept, and no shorter. */
static bool keeps_all(const struct archive_class *c, const struct archive_class *old)
{
	return c->fallback == old->fallback && same_words(c, old) &&
		c->from_date == old->from_date && !c->until == !old->until &&
		!c->days == !old->days && c->until >= old->until &&
		c->days >= old->days && c->years >= old->years;
}

static void add_authority(struct buf *b, const struct archive_class *c)
{
	buf_adds(b, "\"authority\":");
	if (c->authority)
		text_json(b, c->authority, strlen(c->authority));
	else
		buf_adds(b, "null");
	buf_adds(b, ",\"class\":");
	text_json(b, c->name, strlen(c->name));
}

static enum status class_json(struct buf *b, const struct keeper *k,
	const struct archive_class *c, struct err *err)
{
	struct buf text = BUF_INIT(SECRET_MAX);
	bool clear = k->policy.crypt == CRYPT_NONE;
	char until[24];
	enum status rc;

	add_authority(&text, c);
	record_begin(b, k, clock_utc());
	if (clear)
		buf_addf(b, ",%s", buf_str(&text));
	buf_adds(&text, ",\"words\":");
	words_json(&text, c->words, c->words_n);
	if (c->days)
		buf_addf(b, ",\"days\":%u", c->days);
	buf_addf(b,
		",\"default\":%s,\"event\":\"retention\",\"from\":\"%s\",\"operator\":",
		c->fallback ? "true" : "false", c->from_date ? "date" : "retrieved");
	custody_operator(b);
	rc = secret_add(b, &k->vault, &text, err);
	buf_addf(b, ",\"type\":\"%s\"", type);
	if (c->until)
		buf_addf(b, ",\"until\":\"%s\"", clock_rfc3339(until, c->until));
	if (clear) {
		buf_adds(b, ",\"words\":");
		words_json(b, c->words, c->words_n);
	}
	if (c->years)
		buf_addf(b, ",\"years\":%u", c->years);
	buf_adds(b, "}\n");
	buf_free(&text);
	return rc;
}

/* Who cannot read the classes that there are cannot tell whether this one keeps
 * less. */
static enum status must_read(const struct keeper *k, const char *path, struct err *err)
{
	unsigned n = 0;
	enum status rc = record_count(&n, k->dir, kind, err);

	if (rc == ST_OK && n && vault_is_closed(&k->vault)) {
		vault_closed(&k->policy, err);
		rc = err_note(err, "archive %s", path);
	}
	return rc;
}

enum status archive_retention_set(const char *path, const struct archive_class *c,
	const struct archive_words *w, const struct identities *ids, unsigned *no,
	struct err *err)
{
	struct buf b = BUF_INIT(RECORD_MAX);
	struct archive_keeping rules = { 0 };
	const struct archive_class *old;
	struct keeper k;
	enum status rc = words_check(w, c->words, c->words_n, err);

	if (rc == ST_OK)
		rc = keeper_open(&k, path, ids, err);
	if (rc < 0)
		return rc;
	rc = keeper_writes(&k, path, err);
	if (rc == ST_OK)
		rc = must_read(&k, path, err);
	if (rc == ST_OK)
		rc = keeping_rules(&rules, k.dir, &k.vault, err);
	old = rc == ST_OK ? class_named(&rules, c->name) : NULL;
	if (old && !keeps_all(c, old) && !c->authority)
		rc = err_set(err, ST_DENIED, EX_USAGE,
			"class %s is defined, and would keep less or other messages now: "
			"say by whose --authority",
			c->name);
	if (rc == ST_OK)
		rc = class_json(&b, &k, c, err);
	if (rc == ST_OK)
		rc = record_add(&k, kind, "retention", &b, no, err);
	buf_free(&b);
	keeping_clear(&rules);
	keeper_close(&k);
	return rc;
}
