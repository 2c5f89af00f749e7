/* fakeimap_say.c: the directives of the fake IMAP server. */
#include "fakeimap_p.h"
#include "loop.h"
#include "scene.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- life ---- */

void acts_release(struct acts *a)
{
	char **texts[] = { &a->capa[0], &a->capa[1], &a->greeting, &a->quota_text,
		&a->crowded_text, &a->maxmsg_text, &a->literal.text, &a->ns, &a->prefix,
		&a->delimiter, &a->bad_chars };
	size_t i;

	for (i = 0; i < N_ELEMENTS(texts); i++)
		free(*texts[i]);
	for (i = 0; i < FLAWS; i++)
		free(a->refuse[i]);
	rules_release(a);
	for (i = 0; i < a->n_events; i++)
		free(a->events[i].text);
	*a = (struct acts){ 0 };
}

static void set(char **out, const char *text)
{
	free(*out);
	*out = xstrdup(text);
}

static const struct {
	const char *name, *text;
} flaws[FLAWS] = {
	[FLAW_NUL] = { "nul", "NO Message contains NUL characters" },
	[FLAW_BARELF] = { "barelf", "NO Message contains bare newlines" },
	[FLAW_8BIT_HEADER] = { "8bit-header",
		"NO Message contains non-ASCII characters in headers" },
	[FLAW_LONG_LINE] = { "long-line", "NO Message has a line that is too long" },
	[FLAW_BAD_HEADER] = { "bad-header", "NO Message contains invalid header" },
	[FLAW_NO_FINAL_CRLF] = { "no-final-crlf",
		"BAD [CLIENTBUG] Additional arguments found after last expected "
		"argument" },
	[FLAW_EMPTY] = { "empty", "NO Zero-length message literal" },
	[FLAW_FLAGS] = { "flags", "NO APPEND Invalid flag list" },
	[FLAW_DATE] = { "date", "BAD Invalid date" },
	[FLAW_MBOXFROM] = { "mboxfrom", "NO Message contains invalid header" },
};

/* ---- one value ---- */

static bool number(unsigned *out, const char *word, char *why, size_t cap)
{
	return scene_number(word, out) ||
		scene_bad(why, cap, "\"%s\" is no number", word);
}

static void edit_capa(char **list, char sign, const char *word)
{
	struct buf b = BUF_INIT(LINE);
	const char *p = *list ? *list : "UIDPLUS LITERAL+ MULTIAPPEND";
	size_t n;

	for (; *p; p += n, p += *p == ' ') {
		n = strcspn(p, " ");
		if (n != strlen(word) || memcmp(p, word, n) != 0)
			buf_addf(&b, "%s%.*s", b.n ? " " : "", (int)n, p);
	}
	if (sign == '+')
		buf_addf(&b, "%s%s", b.n ? " " : "", word);
	free(*list);
	*list = buf_take(&b);
}

#define ACTS(ctx) (&((struct fakeimap *)(ctx))->acts)

static bool say_slow(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	return number(&ACTS(ctx)->slow, argv[0], why, cap);
}

static bool say_connections(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct fakeimap *s = ctx;

	if (!number(&s->acts.connections, argv[0], why, cap))
		return false;
	set(&s->acts.crowded_text, argc > 1 ? argv[1] : "BYE too many connections");
	loop_at_once(s->loop, LOOP_MOST);
	return true;
}

static bool say_linemax(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	return number(&ACTS(ctx)->linemax, argv[0], why, cap);
}

static bool say_exists(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	return number(&ACTS(ctx)->exists, argv[0], why, cap);
}

static bool say_appendlimit(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	ACTS(ctx)->has_appendlimit = true;
	return number(&ACTS(ctx)->appendlimit, argv[0], why, cap);
}

static bool say_maxmsg(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	set(&ACTS(ctx)->maxmsg_text, argc > 1 ? argv[1] : "NO [TOOBIG] too big");
	return number(&ACTS(ctx)->maxmsg, argv[0], why, cap);
}

static bool say_quota(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	set(&ACTS(ctx)->quota_text, argc > 1 ? argv[1] : "NO [OVERQUOTA] no room left");
	return number(&ACTS(ctx)->quota, argv[0], why, cap);
}

static bool say_quotaroot(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct acts *a = ACTS(ctx);

	(void)argc;
	edit_capa(&a->capa[0], '+', "QUOTA");
	edit_capa(&a->capa[1], '+', "QUOTA");
	return number(&a->quota_used, argv[0], why, cap) &&
		number(&a->quota_kib, argv[1], why, cap);
}

static bool say_bye(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	if (argc != 2 || strcmp(argv[0], "after") != 0)
		return scene_bad(why, cap, "bye after N");
	return number(&ACTS(ctx)->bye_after, argv[1], why, cap);
}

static bool say_mutate(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	return named_mutation(argv[0], &ACTS(ctx)->mutate, why, cap);
}

static bool say_uid(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	return named_uid(argv[0], &ACTS(ctx)->uid, why, cap);
}

/* A word that can only be this one. */
static bool only(const char *word, const char *want, char *why, size_t cap)
{
	return strcmp(word, want) == 0 ||
		scene_bad(why, cap, "\"%s\" is not \"%s\"", word, want);
}

static bool say_need(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	ACTS(ctx)->need_id = true;
	return only(argv[0], "id", why, cap);
}

static bool say_select(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	ACTS(ctx)->readonly = true;
	return only(argv[0], "readonly", why, cap);
}

static bool say_xlist(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	ACTS(ctx)->xlist_only = true;
	return only(argv[0], "only", why, cap);
}

static bool say_visible(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	ACTS(ctx)->visible_reselect = true;
	return only(argv[0], "reselect", why, cap);
}

static bool say_search(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	ACTS(ctx)->search_lies = true;
	return only(argv[0], "lie", why, cap);
}

static bool say_gmail(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	(void)argv;
	(void)why;
	(void)cap;
	ACTS(ctx)->gmail = true;
	return true;
}

/* ---- several ---- */

static bool say_cut(struct acts *a, int argc, char **argv, char *why, size_t cap)
{
	const char *v;
	int i;

	a->cut.step = 0;
	a->cut.times = UINT_MAX;
	if (!number(&a->cut.at, argv[0] + strlen("cut:"), why, cap))
		return false;
	for (i = 1; i < argc; i++) {
		bool steps = scene_is(argv[i], "step", &v);

		if ((!steps && !scene_is(argv[i], "times", &v)) || !v)
			return scene_bad(why, cap, "fetch cut:N [step=N] [times=K]");
		if (!number(steps ? &a->cut.step : &a->cut.times, v, why, cap))
			return false;
	}
	return true;
}

static bool say_fetch(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	if (strcmp(argv[0], "headless") == 0) {
		ACTS(ctx)->fetch_headless = true;
		return argc == 1 || scene_bad(why, cap, "fetch headless");
	}
	if (text_starts(argv[0], "cut:"))
		return say_cut(ACTS(ctx), argc, argv, why, cap);
	if (argc > 2)
		return scene_bad(why, cap, "fetch trunc:N [quiet]");
	ACTS(ctx)->fetch_quiet = argc > 1;
	if (argc > 1 && !only(argv[1], "quiet", why, cap))
		return false;
	return text_starts(argv[0], "trunc:")
		? number(&ACTS(ctx)->fetch_trunc, argv[0] + 6, why, cap)
		: scene_bad(why, cap, "fetch trunc:N");
}

static bool say_greeting(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct acts *a = ACTS(ctx);
	const char *v;

	set(&a->greeting, argv[0]);
	a->greetings = UINT32_MAX;
	if (argc == 1)
		return true;
	return (scene_is(argv[1], "times", &v) && v &&
		       scene_number(v, &a->greetings)) ||
		scene_bad(why, cap, "greeting TEXT [times=K]");
}

static bool say_capa(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct acts *a = ACTS(ctx);
	int from = 0, to = 1, i, k;
	bool all = false;

	if (strcmp(argv[0], "before") == 0)
		to = 0;
	else if (strcmp(argv[0], "after") == 0)
		from = 1;
	for (i = to - from != 1; i < argc; i++) {
		char sign = argv[i][0];

		if (strcmp(argv[i], "=") == 0) {
			all = true;
			for (k = from; k <= to; k++)
				set(&a->capa[k], "");
			continue;
		}
		if (!all && sign != '+' && sign != '-')
			return scene_bad(why, cap, "capa +X -Y, or capa = X Y");
		for (k = from; k <= to; k++)
			edit_capa(&a->capa[k], all ? '+' : sign, argv[i] + !all);
	}
	return true;
}

static bool say_literal(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct acts *a = ACTS(ctx);
	const char *v;
	int i;

	if (!only(argv[0], "refuse", why, cap))
		return false;
	a->literal.untagged = strcmp(argv[1], "untagged") == 0;
	a->literal.silence = strcmp(argv[1], "silence") == 0;
	a->literal.bye = strcmp(argv[1], "bye") == 0;
	if (!a->literal.untagged && !a->literal.silence && !a->literal.bye &&
		!only(argv[1], "tagged", why, cap))
		return false;
	set(&a->literal.text, "BAD command line limit exceeded");
	for (i = 2; i < argc; i++) {
		if (scene_is(argv[i], "over", &v) && v) {
			if (!number(&a->literal.over, v, why, cap))
				return false;
		} else if (scene_is(argv[i], "times", &v) && v) {
			if (!number(&a->literal.times, v, why, cap))
				return false;
		} else {
			set(&a->literal.text, argv[i]);
		}
	}
	return true;
}

static bool say_flaw(
	struct acts *a, bool kills, int argc, char **argv, char *why, size_t cap)
{
	size_t n = strcspn(argv[0], ":"), i;

	for (i = 0; i < FLAWS; i++)
		if (strlen(flaws[i].name) == n &&
			memcmp(flaws[i].name, argv[0], n) == 0)
			break;
	if (i == FLAWS)
		return scene_bad(why, cap, "there is no rule \"%s\"", argv[0]);
	set(&a->refuse[i], argc > 1 ? argv[1] : flaws[i].text + (kills ? 3 : 0));
	a->kill[i] = kills;
	if (i == FLAW_LONG_LINE)
		return argv[0][n] ? number(&a->long_line, argv[0] + n + 1, why, cap)
				  : scene_bad(why, cap, "long-line:N");
	return true;
}

static bool say_reject(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	return say_flaw(ACTS(ctx), false, argc, argv, why, cap);
}

static bool say_kill_on(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	return say_flaw(ACTS(ctx), true, argc, argv, why, cap);
}

/* ---- mailboxes ---- */

static void add_delimiter(struct buf *b, const char *d)
{
	buf_addf(b, strcmp(d, "NIL") == 0 ? "%s" : "\"%s\"", d);
}

static bool say_ns(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct acts *a = ACTS(ctx);
	struct buf b = BUF_INIT(LINE);
	int i, k;

	for (k = 0; k < 2; k++)
		edit_capa(&a->capa[k], '+', "NAMESPACE");
	free(a->ns);
	a->ns = NULL;
	if (argc == 1) {
		a->ns = xstrdup("NIL NIL NIL");
		return only(argv[0], "none", why, cap);
	}
	buf_addc(&b, '(');
	for (i = 0; i + 1 < argc; i += 2) {
		buf_addf(&b, "(\"%s\" ", argv[i]);
		add_delimiter(&b, argv[i + 1]);
		buf_addc(&b, ')');
	}
	buf_adds(&b, ") NIL NIL");
	a->ns = buf_take(&b);
	set(&a->prefix, argv[0]);
	set(&a->delimiter, strcmp(argv[1], "NIL") == 0 ? "" : argv[1]);
	return true;
}

static bool say_delimiter(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	(void)why;
	(void)cap;
	set(&ACTS(ctx)->delimiter, strcmp(argv[0], "NIL") == 0 ? "" : argv[0]);
	return true;
}

static bool say_box(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct box *b = box_find(ctx, argv[0], true);
	const char *v;
	int i;

	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "readonly") == 0)
			b->readonly = true;
		else if (strcmp(argv[i], "noselect") == 0)
			b->noselect = true;
		else if (strcmp(argv[i], "noinferiors") == 0)
			b->noinferiors = true;
		else if (scene_is(argv[i], "attr", &v) && v)
			snprintf(b->attr, sizeof(b->attr), "%s", v);
		else
			return scene_bad(why, cap, "\"%s\" is no option here", argv[i]);
	}
	return true;
}

static bool say_names(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct acts *a = ACTS(ctx);

	if (strcmp(argv[0], "nocase") == 0) {
		a->nocase = true;
		return true;
	}
	if (argc == 2 && strcmp(argv[0], "refuse") == 0) {
		set(&a->bad_chars, argv[1]);
		return true;
	}
	if (argc == 2 && strcmp(argv[0], "depth") == 0)
		return number(&a->depth, argv[1], why, cap);
	return scene_bad(why, cap, "names nocase, refuse CHARACTERS or depth N");
}

static bool say_uidvalidity(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct fakeimap *s = ctx;
	struct acts *a = &s->acts;
	unsigned n;
	size_t i;

	(void)argc;
	if (strcmp(argv[0], "zero") == 0) {
		a->uidvalidity = NUMBER_ZERO;
	} else if (strcmp(argv[0], "missing") == 0) {
		a->uidvalidity = NUMBER_MISSING;
	} else if (strcmp(argv[0], "bump") == 0) {
		boxes_renumber(s);
	} else if (strcmp(argv[0], "bump@reconnect") == 0) {
		a->bump_reconnect = true;
	} else if (text_starts(argv[0], "bump@append:")) {
		struct event *e = &a->events[a->n_events++ % RULES];

		*e = (struct event){ .what = EV_BUMP };
		return number(&e->at, argv[0] + strlen("bump@append:"), why, cap);
	} else if (number(&n, argv[0], why, cap)) {
		for (i = 0; i < s->n_boxes; i++)
			s->boxes[i]->uidvalidity = n;
	} else {
		return false;
	}
	return true;
}

static bool say_uidnext(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	if (strcmp(argv[0], "zero") == 0)
		ACTS(ctx)->uidnext = NUMBER_ZERO;
	else if (strcmp(argv[0], "missing") == 0)
		ACTS(ctx)->uidnext = NUMBER_MISSING;
	else
		return scene_bad(why, cap, "uidnext zero or missing");
	return true;
}

/* ---- what happens by itself ---- */

static bool event_new(struct acts *a, struct event **out, int what, int argc,
	char **argv, char *why, size_t cap)
{
	struct event *e;
	const char *v;
	int i;

	if (a->n_events == RULES)
		return scene_bad(why, cap, "more than %d events", RULES);
	e = *out = &a->events[a->n_events++];
	*e = (struct event){ .what = what, .box = "INBOX" };
	for (i = 0; i < argc; i++) {
		if (scene_is(argv[i], "box", &v) && v)
			snprintf(e->box, sizeof(e->box), "%s", v);
		else if (!((scene_is(argv[i], "at", &v) ||
				   scene_is(argv[i], "after", &v)) &&
				 v && scene_number(v, &e->at)))
			return scene_bad(why, cap, "\"%s\" is no option here", argv[i]);
	}
	return true;
}

/* Without "at" it happens now. */
static void now(struct fakeimap *s)
{
	events_due(s, 0, true);
	events_due(s, 0, false);
}

static bool say_deliver(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct event *e;

	if (!event_new(ACTS(ctx), &e, EV_DELIVER, argc - 1, argv + 1, why, cap))
		return false;
	e->text = xstrdup(argv[0]);
	now(ctx);
	return true;
}

static bool say_expunge(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct event *e;

	if (!event_new(ACTS(ctx), &e, EV_EXPUNGE, argc - 1, argv + 1, why, cap) ||
		!number(&e->n, argv[0], why, cap))
		return false;
	now(ctx);
	return true;
}

static bool say_vanish(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct event *e;

	if (!event_new(ACTS(ctx), &e, EV_VANISH, argc - 1, argv + 1, why, cap))
		return false;
	snprintf(e->box, sizeof(e->box), "%s", argv[0]);
	now(ctx);
	return true;
}

static bool say_empty(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct fakeimap *s = ctx;
	size_t i;

	(void)argc;
	(void)argv;
	(void)why;
	(void)cap;
	for (i = 0; i < s->n_boxes; i++)
		while (s->boxes[i]->n)
			box_drop(s->boxes[i], s->boxes[i]->n - 1);
	return true;
}

static bool say_well(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	(void)argv;
	(void)why;
	(void)cap;
	acts_release(ACTS(ctx));
	return true;
}

static const struct scene_verb directives[] = {
	{ "well", 0, 0, say_well },
	{ "empty", 0, 0, say_empty },
	{ "capa", 1, -1, say_capa },
	{ "greeting", 1, 2, say_greeting },
	{ "login", 2, 3, say_login },
	{ "need", 1, 1, say_need },
	{ "on", 2, -1, say_on },
	{ "bad", 1, -1, say_bad },
	{ "slow", 1, 1, say_slow },
	{ "linemax", 1, 1, say_linemax },
	{ "connections", 1, 2, say_connections },
	{ "mutate", 1, 1, say_mutate },
	{ "uid", 1, 1, say_uid },
	{ "literal", 2, 5, say_literal },
	{ "maxmsg", 1, 2, say_maxmsg },
	{ "appendlimit", 1, 1, say_appendlimit },
	{ "quota", 1, 2, say_quota },
	{ "quotaroot", 2, 2, say_quotaroot },
	{ "reject", 1, 2, say_reject },
	{ "kill-on", 1, 2, say_kill_on },
	{ "gmail", 0, 0, say_gmail },
	{ "deliver", 1, 3, say_deliver },
	{ "expunge", 1, 3, say_expunge },
	{ "bye", 2, 2, say_bye },
	{ "ns", 1, 4, say_ns },
	{ "delimiter", 1, 1, say_delimiter },
	{ "box", 1, -1, say_box },
	{ "names", 1, 2, say_names },
	{ "create", 1, -1, say_create },
	{ "vanish", 2, 2, say_vanish },
	{ "select", 1, 1, say_select },
	{ "xlist", 1, 1, say_xlist },
	{ "uidvalidity", 1, 1, say_uidvalidity },
	{ "uidnext", 1, 1, say_uidnext },
	{ "exists", 1, 1, say_exists },
	{ "visible", 1, 1, say_visible },
	{ "fetch", 1, 3, say_fetch },
	{ "search", 1, 1, say_search },
};

bool fakeimap_say(struct fakeimap *s, int argc, char **argv, char *why, size_t cap)
{
	bool ok;

	pthread_mutex_lock(&s->lock);
	s->offered = s->stored = 0;
	if (argc > 1 && text_starts(argv[0], "append") && argv[0][6] != 'l')
		ok = say_append(s, argc, argv, why, cap);
	else
		ok = scene_say(
			directives, N_ELEMENTS(directives), s, argc, argv, why, cap);
	pthread_mutex_unlock(&s->lock);
	return ok;
}
