/* fakeimap_rule.c: what the fake IMAP server does about a command: "on" and
 * "append". */
#include "fakeimap_p.h"
#include "scene.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void set(char **out, const char *text)
{
	free(*out);
	*out = xstrdup(text);
}

void rules_release(struct acts *a)
{
	size_t i;

	for (i = 0; i < a->n_rules; i++) {
		free(a->rules[i].args);
		free(a->rules[i].text);
		free(a->rules[i].tagged);
		free(a->rules[i].untagged);
		free(a->rules[i].bye);
	}
}

static bool matches(const struct rule *r, const char *verb, const char *args)
{
	if (strcmp(r->verb, "*") != 0 && !text_same(r->verb, verb))
		return false;
	return !r->args || text_glob(r->args, args, strlen(args));
}

struct rule *acts_rule(struct acts *a, const char *verb, const char *args)
{
	size_t i;

	for (i = 0; i < a->n_rules; i++) {
		struct rule *r = &a->rules[i];

		if (!matches(r, verb, args))
			continue;
		r->seen++;
		if ((r->k && r->seen != r->k) || r->seen <= r->skip ||
			(r->times && r->used >= r->times))
			continue;
		r->used++;
		return r;
	}
	return NULL;
}

/* ---- words with a meaning in a list ---- */

struct named {
	const char *name;
	int value;
};

static bool lookup(const struct named *v, size_t n, const char *word, int *out,
	char *why, size_t cap)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (strcmp(v[i].name, word) != 0)
			continue;
		*out = v[i].value;
		return true;
	}
	return scene_bad(why, cap, "\"%s\" is not known here", word);
}

static const struct named mutations[] = {
	{ "ws", MUTATE_WS },
	{ "8bitx", MUTATE_8BITX },
	{ "dropreceived", MUTATE_DROPRECEIVED },
	{ "lf", MUTATE_LF },
	{ "msgid", MUTATE_MSGID },
	{ "remime", MUTATE_REMIME },
	{ "nul80", MUTATE_NUL80 },
	{ "addheader", MUTATE_ADDHEADER },
};

static const struct named uids[] = {
	{ "none", UID_NONE },
	{ "wrong", UID_WRONG },
	{ "zero", UID_ZERO },
	{ "same", UID_SAME },
	{ "validity", UID_VALIDITY },
};

static const struct named endings[] = {
	{ "ok", END_OK },
	{ "lost", END_LOST },
	{ "rst", END_RST },
	{ "hang", END_HANG },
	{ "bye", END_BYE },
};

bool named_mutation(const char *word, enum mutation *out, char *why, size_t cap)
{
	int kind = 0;
	bool ok = lookup(mutations, N_ELEMENTS(mutations), word, &kind, why, cap);

	*out = (enum mutation)kind;
	return ok;
}

bool named_uid(const char *word, enum uid_told *out, char *why, size_t cap)
{
	int kind = 0;
	bool ok = lookup(uids, N_ELEMENTS(uids), word, &kind, why, cap);

	*out = (enum uid_told)kind;
	return ok;
}

/* ---- on, append ---- */

static bool say_commit(struct rule *r, const char *v, char *why, size_t cap)
{
	r->how = strcmp(v, "early") == 0 ? BY_RULE_EARLY : BY_RULE;
	if (strcmp(v, "no") == 0)
		r->commit = COMMIT_NO;
	else if (strcmp(v, "yes") == 0 || strcmp(v, "early") == 0)
		r->commit = COMMIT_YES;
	else if (text_starts(v, "late:") && scene_number(v + 5, &r->late_ms))
		r->commit = COMMIT_LATE;
	else
		return scene_bad(why, cap, "commit is yes, no, early or late:MS");
	return true;
}

static bool say_end(struct rule *r, const char *v, char *why, size_t cap)
{
	int end = END_OK;

	if (text_starts(v, "drop@") && scene_number(v + 5, &r->drop_at)) {
		r->end = END_DROP;
		return true;
	}
	if (!lookup(endings, N_ELEMENTS(endings), v, &end, why, cap))
		return false;
	r->end = (enum ending)end;
	return true;
}

/* One option; *used is how many words it takes. */
static bool rule_option(
	struct rule *r, int argc, char **argv, int *used, char *why, size_t cap)
{
	const char *word = argv[0], *v;
	bool ok = true;

	*used = 1;
	if (argc > 1 && strcmp(word, "tagged") == 0) {
		set(&r->tagged, argv[1]);
		*used = 2;
	} else if (argc > 1 && strcmp(word, "untagged") == 0) {
		set(&r->untagged, argv[1]);
		*used = 2;
	} else if (argc > 1 && strcmp(word, "bye") == 0) {
		set(&r->bye, argv[1]);
		r->end = END_BYE;
		*used = 2;
	} else if (scene_is(word, "commit", &v) && v) {
		ok = say_commit(r, v, why, cap);
	} else if (scene_is(word, "end", &v) && v) {
		ok = say_end(r, v, why, cap);
	} else if (scene_is(word, "mutate", &v) && v) {
		ok = named_mutation(v, &r->mutate, why, cap);
	} else if (scene_is(word, "uid", &v) && v) {
		ok = named_uid(v, &r->uid, why, cap);
	} else if (scene_is(word, "args", &v) && v) {
		set(&r->args, v);
	} else if (!(scene_is(word, "times", &v) && v && scene_number(v, &r->times)) &&
		!(scene_is(word, "skip", &v) && v && scene_number(v, &r->skip))) {
		ok = scene_bad(why, cap, "\"%s\" is no option here", word);
	}
	return ok;
}

static bool rule_options(struct rule *r, int argc, char **argv, char *why, size_t cap)
{
	int at, used;

	for (at = 0; at < argc; at += used)
		if (!rule_option(r, argc - at, argv + at, &used, why, cap))
			return false;
	return true;
}

/* "UID FETCH" is the verb UID with a pattern for what follows. */
static const struct {
	const char *name, *verb, *args;
} verbs[] = {
	{ "FETCH", "UID", "FETCH *" },
	{ "SEARCH", "UID", "SEARCH *" },
	{ "LIST-RETURN", "LIST", "*RETURN*" },
	{ "CREATE-USE", "CREATE", "*(USE*" },
};

/* "VERB", "VERB[3]" or "VERB~text". */
static bool rule_new(
	struct acts *a, struct rule **out, const char *word, char *why, size_t cap)
{
	size_t n = strcspn(word, "[~"), i;
	struct rule *r;
	char *end;

	if (a->n_rules == RULES)
		return scene_bad(why, cap, "more than %d rules", RULES);
	r = *out = &a->rules[a->n_rules++];
	*r = (struct rule){ 0 };
	snprintf(r->verb, sizeof(r->verb), "%.*s", (int)n, word);
	for (i = 0; i < N_ELEMENTS(verbs); i++)
		if (strcmp(r->verb, verbs[i].name) == 0) {
			snprintf(r->verb, sizeof(r->verb), "%s", verbs[i].verb);
			set(&r->args, verbs[i].args);
		}
	if (word[n] == '~') {
		set(&r->text, word + n + 1);
	} else if (word[n] == '[') {
		r->k = (unsigned)strtoul(word + n + 1, &end, 10);
		if (!r->k || strcmp(end, "]") != 0)
			return scene_bad(
				why, cap, "\"%s\" is not like append[3]", word);
	}
	return true;
}

bool say_on(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct acts *a = &((struct fakeimap *)ctx)->acts;
	struct rule *r;

	return rule_new(a, &r, argv[0], why, cap) &&
		rule_options(r, argc - 1, argv + 1, why, cap);
}

bool say_append(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	char *word = xasprintf("APPEND%s", argv[0] + strlen("append"));
	struct rule *r;
	bool ok = rule_new(&((struct fakeimap *)ctx)->acts, &r, word, why, cap) &&
		rule_options(r, argc - 1, argv + 1, why, cap);

	free(word);
	return ok;
}

bool say_bad(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct acts *a = &((struct fakeimap *)ctx)->acts;
	struct rule *r;
	int i;

	for (i = 0; i < argc; i++) {
		if (!rule_new(a, &r, argv[i], why, cap))
			return false;
		set(&r->tagged, "BAD Error in IMAP command");
	}
	return true;
}

bool say_login(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	static const char *const ways[] = { "LOGIN", "AUTHENTICATE" };
	struct acts *a = &((struct fakeimap *)ctx)->acts;
	struct rule *r;
	size_t i;

	if (strcmp(argv[0], "reply") != 0)
		return scene_bad(why, cap, "login reply TEXT [times=K]");
	for (i = 0; i < N_ELEMENTS(ways); i++) {
		if (!rule_new(a, &r, ways[i], why, cap) ||
			!rule_options(r, argc - 2, argv + 2, why, cap))
			return false;
		set(&r->tagged, argv[1]);
	}
	return true;
}

bool say_create(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct acts *a = &((struct fakeimap *)ctx)->acts;
	struct rule *r;

	if (strcmp(argv[0], "lower") == 0) {
		a->create_lower = true;
		return true;
	}
	if (strcmp(argv[0], "noselect-parents") == 0) {
		a->parents = true;
		return true;
	}
	if (!rule_new(a, &r, "CREATE", why, cap) ||
		!rule_options(r, argc - 1, argv + 1, why, cap))
		return false;
	set(&r->tagged, argv[0]);
	return true;
}
