/*
 * profile.c: profile files, found by name and read with libinih.
 *
 * libinih cuts what is too long without a word (a line at ini_max_line, a
 * section's name at 49 bytes) and says nothing of a section without keys. So it
 * gets its lines from next_line(), which refuses what would be cut and sees
 * every section begin.
 */
#include "own.h"

#include <popferry/fs.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Debian builds libinih so that the handler gets the line number. */
#define INI_HANDLER_LINENO 1
#include <ini.h>

#ifndef PROFILE_DIR
#	define PROFILE_DIR "/usr/local/share/popferry/profiles"
#endif

enum { WHERE_PATH = 200, BLANKS_LINE_END = 2 };

enum section { TOP, POP3, IMAP, RULE };

/* One profile file under way. */
struct reading {
	const struct reading *outer; /* the one that names it */
	char *path;                  /* canonical */
	const char *shown;           /* as found */
	struct plan *plan;
	char *text;
	size_t n, off;
	unsigned line;
	char where[WHERE_PATH + 24];
	enum section section;
	unsigned section_line[RULE]; /* where [pop3] and [imap] stood; 0: nowhere */
	unsigned *key_line;          /* a row of each table: where it was set */
	bool any;                    /* a key has been read */
	struct rule *rules;
	size_t n_rules;
	unsigned rule_line; /* where the rule under way began */
	enum status rc;
	struct err *err;
};

static struct spot spot_at(struct reading *r, unsigned line, const char *key)
{
	size_t n = strlen(r->shown);

	if (n > WHERE_PATH)
		snprintf(r->where, sizeof(r->where), "...%s:%u",
			r->shown + n - WHERE_PATH + 3, line);
	else
		snprintf(r->where, sizeof(r->where), "%s:%u", r->shown, line);
	return (struct spot){ r->where, key };
}

/* ---- sections ---- */

static enum status rule_end(struct reading *r)
{
	struct spot at;
	struct rule *rule;

	if (r->section != RULE)
		return ST_OK;
	rule = &r->rules[r->n_rules - 1];
	at = spot_at(r, r->rule_line, NULL);
	return rule_check(rule, &at, r->err);
}

static enum status rule_begin(struct reading *r, const char *name, size_t n)
{
	struct spot at = spot_at(r, r->line, "[rule]");
	size_t i;

	if (!n || n > RULE_NAME_MAX || has_control(name, n))
		return spot_bad(&at, r->err,
			"expected a name of 1 to %d bytes, as in [rule lists]",
			RULE_NAME_MAX);
	for (i = 0; i < r->n_rules; i++)
		if (strlen(r->rules[i].name) == n && !memcmp(r->rules[i].name, name, n))
			return spot_bad(&at, r->err,
				"a rule called \"%.*s\" stands above already", (int)n,
				name);
	if (r->n_rules == RULES_MAX)
		return spot_bad(
			&at, r->err, "a profile can have at most %d rules", RULES_MAX);
	r->rules = xreallocarray(r->rules, r->n_rules + 1, sizeof(*r->rules));
	r->rules[r->n_rules++] = (struct rule){ .name = xmemdup0(name, n) };
	r->rule_line = r->line;
	r->section = RULE;
	return ST_OK;
}

static enum status facts_begin_section(
	struct reading *r, enum section section, const char *name)
{
	struct spot at = spot_at(r, r->line, NULL);

	if (r->section_line[section])
		return spot_bad(&at, r->err,
			"the section [%s] stands on line %u already", name,
			r->section_line[section]);
	r->section_line[section] = r->line;
	r->section = section;
	if (section == POP3)
		r->plan->has_pop3 = true;
	else
		r->plan->has_imap = true;
	return ST_OK;
}

static enum status unknown_section(struct reading *r, const char *name, size_t n)
{
	char word[RULE_NAME_MAX + 1];
	struct nearest near = NEAREST(word);
	struct spot at = spot_at(r, r->line, NULL);

	snprintf(word, sizeof(word), "%.*s", (int)(n < sizeof(word) ? n : 0), name);
	nearest_offer(&near, "pop3");
	nearest_offer(&near, "imap");
	return spot_bad(&at, r->err,
		"there is no section [%.*s]; %s%s%sexpected [pop3], [imap] or [rule NAME]",
		(int)(n < RULE_NAME_MAX ? n : RULE_NAME_MAX), name,
		near.best ? "did you mean [" : "", near.best ? near.best : "",
		near.best ? "]? " : "");
}

static size_t trim(const char **s, size_t n)
{
	while (n && strchr(" \t\r\v\f", **s))
		(*s)++, n--;
	while (n && strchr(" \t\r\v\f", (*s)[n - 1]))
		n--;
	return n;
}

static enum status section_begin(struct reading *r, const char *s, size_t n)
{
	struct spot at = spot_at(r, r->line, NULL);
	const char *end = memchr(s, ']', n);
	enum status rc;

	if (!end)
		return spot_bad(&at, r->err, "the \"[\" of a section has no \"]\"");
	if (end != s + n - 1)
		return spot_bad(
			&at, r->err, "nothing can follow the \"]\" of a section");
	rc = rule_end(r);
	if (rc < 0)
		return rc;
	s++;
	n = trim(&s, (size_t)(end - s));
	if (n == 4 && !memcmp(s, "pop3", n))
		return facts_begin_section(r, POP3, "pop3");
	if (n == 4 && !memcmp(s, "imap", n))
		return facts_begin_section(r, IMAP, "imap");
	if (n >= 4 && !memcmp(s, "rule", 4) &&
		(n == 4 || s[4] == ' ' || s[4] == '\t')) {
		s += 4;
		n = trim(&s, n - 4);
		return rule_begin(r, s, n);
	}
	return unknown_section(r, s, n);
}

/* ---- keys ---- */

static enum status once(struct reading *r, unsigned *line, const struct spot *at)
{
	if (*line)
		return spot_bad(at, r->err,
			"is given twice; it stands on line %u already", *line);
	*line = r->line;
	return ST_OK;
}

static bool ends_in(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && !strcmp(s + n - m, end);
}

/* The key is in no row of the table of this section. */
static enum status unknown_key(
	struct reading *r, const struct setting *table, size_t n, const struct spot *at)
{
	struct nearest near = NEAREST(at->key);
	size_t i;

	if (strpbrk(at->key, " \t")) /* the ":" of a URL divides, too */
		return spot_bad(at, r->err, "expected KEY = VALUE");
	if (ends_in(at->key, "password"))
		return spot_bad(at, r->err,
			"passwords do not stand in profiles; use "
			"source-password-file, -command or -env (or dest-...)");
	if (r->section != TOP && setting_find(job_table, n_job_table, at->key))
		return spot_bad(at, r->err,
			"is a setting of the job; it stands before the first section");
	for (i = 0; i < n; i++)
		nearest_offer(&near, table[i].key);
	if (near.best)
		return spot_bad(at, r->err,
			"there is no such key here; did you mean \"%s\"?", near.best);
	return spot_bad(at, r->err,
		"there is no such key here; popferry-profile(5) lists them");
}

static enum status top_key(struct reading *r, const char *value, const struct spot *at)
{
	const struct setting *s = setting_find(job_table, n_job_table, at->key);
	unsigned layer = r->plan->layer;
	enum status rc = ST_OK;

	if (!s)
		return unknown_key(r, job_table, n_job_table, at);
	if (strcmp(s->key, "dest") != 0 && strcmp(s->key, "tsa") != 0 &&
		s->set != set_crypt)
		rc = once(r, &r->key_line[s - job_table], at);
	if (rc >= 0 && !strcmp(s->key, "extends") && r->any)
		rc = spot_bad(at, r->err, "stands before all other settings");
	if (rc >= 0)
		rc = job_put(r->plan, s, value, at, r->err);
	r->plan->layer = layer;
	return rc;
}

static enum status facts_key(
	struct reading *r, const char *value, const struct spot *at)
{
	bool pop3 = r->section == POP3;
	const struct setting *table = pop3 ? pop3_settings : imap_settings;
	size_t n = pop3 ? n_pop3_settings : n_imap_settings;
	const struct setting *s = setting_find(table, n, at->key);
	void *facts = pop3 ? (void *)&r->plan->pop3 : (void *)&r->plan->imap;
	size_t row = n_job_table + (pop3 ? 0 : n_pop3_settings);
	enum status rc;

	if (!s)
		return unknown_key(r, table, n, at);
	if (!strcmp(s->key, "tls") && !strcmp(value, "none"))
		return spot_bad(at, r->err,
			"a section cannot take the encryption away; only the setting %s "
			"can say none",
			pop3 ? "source-tls" : "dest-tls");
	rc = once(r, &r->key_line[row + (size_t)(s - table)], at);
	return rc < 0 ? rc : setting_put(facts, s, value, at, r->err);
}

/* The handler of libinih: 0 stops it. */
static int take_key(
	void *ctx, const char *section, const char *name, const char *value, int lineno)
{
	struct reading *r = ctx;
	struct spot at = spot_at(r, r->line, name);

	(void)section;
	(void)lineno;
	if (!*name)
		r->rc = spot_bad(&at, r->err, "expected KEY = VALUE");
	else if (has_control(value, strlen(value)))
		r->rc = spot_bad(&at, r->err, "the value holds control characters");
	else if (r->section == TOP)
		r->rc = top_key(r, value, &at);
	else if (r->section == RULE)
		r->rc = rule_put(&r->rules[r->n_rules - 1], name, value, &at, r->err);
	else
		r->rc = facts_key(r, value, &at);
	r->any = true;
	return r->rc >= 0;
}

/* The reader of libinih: exactly one line a call, NULL at the end or error. */
static char *next_line(char *str, int num, void *ctx)
{
	struct reading *r = ctx;
	const char *s = r->text + r->off, *end, *part = s;
	size_t n, max = PROFILE_LINE_MAX;
	struct spot at;

	if (r->rc < 0 || r->off == r->n)
		return NULL;
	end = memchr(s, '\n', r->n - r->off);
	n = end ? (size_t)(end - s) : r->n - r->off;
	r->off += n + (end ? 1 : 0);
	r->line++;
	at = spot_at(r, r->line, NULL);
	if ((size_t)num < max + BLANKS_LINE_END)
		max = num > BLANKS_LINE_END ? (size_t)num - BLANKS_LINE_END : 0;
	if (n > max)
		r->rc = spot_bad(&at, r->err, "the line is longer than %zu bytes", max);
	else if (memchr(s, '\0', n))
		r->rc = spot_bad(&at, r->err, "the line holds a NUL byte");
	if (r->rc < 0)
		return NULL;
	memcpy(str, s, n);
	str[n] = '\n';
	str[n + 1] = '\0';
	n = trim(&part, n);
	if (n && *part == '[') {
		r->rc = section_begin(r, part, n);
		if (r->rc < 0)
			return NULL;
	}
	return str;
}

/* ---- files ---- */

static bool is_path(const char *spec)
{
	return strchr(spec, '/') || ends_in(spec, ".conf");
}

/* The n-th place where named profiles live; NULL: no such place. */
static char *place(unsigned n)
{
	const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

	if (n == 0)
		return xstrdup(PROFILE_DIR);
	if (config && *config == '/')
		return xasprintf("%s/popferry/profiles", config);
	return home && *home == '/' ? xasprintf("%s/.config/popferry/profiles", home)
				    : NULL;
}

/* dir/name.conf when it exists. */
static char *in_dir(const char *dir, size_t n, const char *name)
{
	char *path = xasprintf("%.*s/%s.conf", (int)n, dir, name);

	if (n && access(path, F_OK) == 0)
		return path;
	free(path);
	return NULL;
}

static char *by_name(const char *name)
{
	const char *own = getenv("POPFERRY_PROFILES");
	char *found = NULL;
	unsigned i;

	while (!found && own && *own) {
		size_t n = strcspn(own, ":");

		found = in_dir(own, n, name);
		own += n + (own[n] == ':');
	}
	for (i = 2; !found && i-- > 0;) {
		char *dir = place(i);

		if (dir)
			found = in_dir(dir, strlen(dir), name);
		free(dir);
	}
	return found;
}

bool job_has_profile(const char *profile)
{
	char *found;
	bool there;

	if (is_path(profile))
		return access(profile, F_OK) == 0;
	found = by_name(profile);
	there = found != NULL;
	free(found);
	return there;
}

/* A path in a profile starts at the folder of that profile. */
static char *by_path(const char *spec, const struct reading *outer)
{
	const char *slash = outer ? strrchr(outer->path, '/') : NULL;

	if (*spec == '/' || !slash)
		return xstrdup(spec);
	return xasprintf("%.*s/%s", (int)(slash - outer->path), outer->path, spec);
}

static enum status find(
	char **out, const char *spec, const struct reading *outer, struct err *err)
{
	static const char fit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				  "0123456789._-";
	size_t n = strlen(spec);

	if (n > VALUE_MAX)
		return err_set(err, ST_DENIED, EX_USAGE,
			"the name of a profile is over %d bytes long", VALUE_MAX);
	if (is_path(spec)) {
		*out = by_path(spec, outer);
		return ST_OK;
	}
	if (!n || n > RULE_NAME_MAX || strspn(spec, fit) != n || *spec == '.')
		return err_set(err, ST_DENIED, EX_USAGE,
			"\"%.60s\" is no name of a profile; expected letters, digits and "
			"\"._-\", or a path with a \"/\"",
			spec);
	*out = by_name(spec);
	if (!*out)
		return err_set(err, ST_DENIED, EX_USAGE,
			"there is no profile \"%s\" in $POPFERRY_PROFILES, "
			"~/.config/popferry/profiles and %s; write ./%s.conf for a file "
			"here",
			spec, PROFILE_DIR, spec);
	return ST_OK;
}

/* Refuses a profile that is being read already, and too many at once. */
static enum status check_chain(const struct reading *r, struct err *err)
{
	const struct reading *o;
	unsigned depth = 0;

	for (o = r->outer; o; o = o->outer) {
		if (!strcmp(o->path, r->path))
			return err_set(err, ST_DENIED, EX_USAGE,
				"the profile %s names itself, directly or by others",
				r->shown);
		if (++depth > PROFILE_DEPTH)
			return err_set(err, ST_DENIED, EX_USAGE,
				"profiles name each other more than %d deep",
				PROFILE_DEPTH);
	}
	return ST_OK;
}

static enum status read_text(struct reading *r, struct err *err)
{
	struct err why = ERR_INIT;
	enum status rc;

	rc = fs_read(&r->text, &r->n, AT_FDCWD, r->shown, PROFILE_MAX, &why);
	if (rc == ST_END)
		return err_set(
			err, ST_DENIED, EX_USAGE, "there is no profile %s", r->shown);
	if (rc < 0)
		return err_set(err, ST_DENIED, EX_USAGE, "profile: %s", why.text);
	if (r->n >= 3 && !memcmp(r->text, "\xef\xbb\xbf", 3))
		r->off = 3;
	return ST_OK;
}

/* A profile's own rules come before those it inherits, and replace namesakes. */
static void join_rules(struct reading *r)
{
	struct job *j = &r->plan->job;
	size_t i, k;

	for (i = 0; i < j->n_rules; i++) {
		for (k = 0; k < r->n_rules; k++)
			if (!strcmp(r->rules[k].name, j->rules[i].name))
				break;
		if (k < r->n_rules) {
			rule_release(&j->rules[i]);
			continue;
		}
		r->rules = xreallocarray(r->rules, r->n_rules + 1, sizeof(*r->rules));
		r->rules[r->n_rules++] = j->rules[i];
	}
	free(j->rules);
	j->rules = r->rules;
	j->n_rules = r->n_rules;
	r->rules = NULL;
	r->n_rules = 0;
}

/* libinih is told by globals: profiles are read by one thread at a time. */
static enum status parse(struct reading *r)
{
	struct spot at;
	int line;

	ini_max_line = PROFILE_LINE_MAX + BLANKS_LINE_END + 1;
	ini_use_stack = true;
	ini_allow_multiline = false;
	ini_allow_inline_comments = false;
	ini_allow_no_value = false;
	ini_stop_on_first_error = true;
	line = ini_parse_stream(next_line, r, take_key, r);
	if (r->rc < 0)
		return r->rc;
	at = spot_at(r, r->line, NULL);
	if (line != 0)
		return spot_bad(&at, r->err,
			"expected KEY = VALUE, a [section], or a comment after \"#\"");
	return rule_end(r);
}

enum status profile_load(struct plan *p, const char *spec, struct err *err)
{
	struct reading r = { .outer = p->reading, .plan = p, .err = err };
	unsigned layer = p->layer;
	char *found = NULL;
	enum status rc;

	rc = find(&found, spec, p->reading, err);
	if (rc < 0)
		return rc;
	r.shown = found;
	r.path = path_canon(found);
	r.key_line = xcalloc(
		n_job_table + n_pop3_settings + n_imap_settings, sizeof(*r.key_line));
	rc = check_chain(&r, err);
	if (rc >= 0)
		rc = read_text(&r, err);
	if (rc < 0)
		goto out;
	p->reading = &r;
	p->layer = ++p->layers;
	rc = parse(&r);
	if (rc >= 0)
		join_rules(&r);
	p->layer = layer;
	p->reading = r.outer;
out:
	while (r.n_rules)
		rule_release(&r.rules[--r.n_rules]);
	free(r.rules);
	free(r.key_line);
	free(r.text);
	free(r.path);
	free(found);
	return rc;
}

enum status job_load(struct job *j, const char *profile, struct err *err)
{
	return profile_load((struct plan *)j, profile, err);
}
