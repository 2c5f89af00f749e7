/* popsay.c: what a case file says to the POP3 server. */
#include "fakepop_p.h"
#include "scene.h"

#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What say() functions get; the lock is held. */
#define SAY(name) \
	static bool name(void *ctx, int argc, char **argv, char *why, size_t cap)

const char *fakepop_keep(struct fakepop *p, const char *text)
{
	p->texts = xreallocarray(p->texts, p->n_texts + 1, sizeof(*p->texts));
	return p->texts[p->n_texts++] = xstrdup(text);
}

struct letter *fakepop_new(struct fakepop *p)
{
	struct letter *l = xcalloc(1, sizeof(*l));

	p->letters = xreallocarray(p->letters, p->n + 1, sizeof(struct letter *));
	p->order = xreallocarray(p->order, p->n + 1, sizeof(*p->order));
	l->number = (unsigned)(p->n - p->first) + 1;
	p->order[l->number - 1] = p->n;
	return p->letters[p->n++] = l;
}

void fakepop_set_text(struct letter *l, const char *text, size_t n)
{
	const bool whole = !n || text[n - 1] == '\n';

	free(l->text);
	l->text = xmalloc(n + 3);
	memcpy(l->text, text, n);
	if (!whole)
		memcpy(l->text + n, "\r\n", 2);
	l->n = n + (whole ? 0 : 2);
	l->text[l->n] = '\0';
}

/* ---- words for lists of messages ---- */

struct each {
	struct fakepop *p;
	void (*does)(struct letter *l, const struct each *e);
	const char *value;
	bool flag;
	unsigned missing;
	size_t n; /* so far */
};

static void one(void *ctx, const struct scene_pick *pick)
{
	struct each *e = ctx;
	struct letter *l = fakepop_letter(e->p, pick->number);

	if (l)
		e->does(l, e);
	else
		e->missing = pick->number;
	e->n++;
}

static bool each_of(struct each *e, int argc, char **argv, char *why, size_t cap)
{
	int i;

	for (i = 0; i < argc; i++)
		if (!scene_pick(argv[i], one, e, why, cap))
			return false;
	return !e->missing || scene_bad(why, cap, "there is no message %u", e->missing);
}

static void hide(struct letter *l, const struct each *e)
{
	l->hidden = e->flag;
}

static void drop_uidl(struct letter *l, const struct each *e)
{
	(void)e;
	l->no_uidl = true;
}

static void drop_list(struct letter *l, const struct each *e)
{
	(void)e;
	l->no_list = true;
}

static void set_size(struct letter *l, const struct each *e)
{
	free(l->size);
	l->size = xstrdup(e->value);
}

/* "%" is the number. */
static void set_uidl(struct letter *l, const struct each *e)
{
	struct buf b = BUF_INIT(1024 * 1024);
	const char *long_n = NULL, *p;
	unsigned n;

	if (scene_is(e->value, "long", &long_n) && long_n && scene_number(long_n, &n)) {
		buf_addf(&b, "%u-", l->number);
		while (b.n < n)
			buf_addc(&b, 'y');
	} else {
		for (p = e->value; *p; p++)
			if (*p == '%')
				buf_addf(&b, "%u", l->number);
			else
				buf_addc(&b, *p);
	}
	free(l->uidl);
	buf_addc(&b, '\0');
	l->uidl = buf_take(&b);
	l->no_uidl = false;
}

static void set_order(struct letter *l, const struct each *e)
{
	e->p->order[e->n] = e->p->first + l->number - 1;
}

SAY(say_vanish)
{
	struct each e = { .p = ctx, .does = hide, .flag = true };

	return each_of(&e, argc, argv, why, cap);
}

SAY(say_return)
{
	struct each e = { .p = ctx, .does = hide };

	return each_of(&e, argc, argv, why, cap);
}

SAY(say_uidl_drop)
{
	struct each e = { .p = ctx, .does = drop_uidl };

	return each_of(&e, argc, argv, why, cap);
}

SAY(say_list_drop)
{
	struct each e = { .p = ctx, .does = drop_list };

	return each_of(&e, argc, argv, why, cap);
}

SAY(say_order)
{
	struct each e = { .p = ctx, .does = set_order };
	struct fakepop *p = ctx;
	size_t n = p->n - p->first, i, k, swap;

	if (strcmp(argv[0], "shuffle") != 0 && strcmp(argv[0], "reverse") != 0)
		return each_of(&e, argc, argv, why, cap) &&
			(e.n == n ||
				scene_bad(why, cap, "an order of %zu messages, not %zu",
					e.n, n));
	for (i = 0; i < (*argv[0] == 'r' ? n / 2 : n); i++) {
		k = *argv[0] == 'r' ? n - 1 - i : (i * 7919 + 13) % n;
		swap = p->order[i];
		p->order[i] = p->order[k];
		p->order[k] = swap;
	}
	return true;
}

SAY(say_msgs)
{
	struct fakepop *p = ctx;
	struct buf b = BUF_INIT(1024 * 1024);
	struct letter *l;
	unsigned n;

	(void)argc;
	if (!scene_number(argv[0], &n))
		return scene_bad(why, cap, "msgs: %s is no number", argv[0]);
	while (p->n - p->first < n) {
		l = fakepop_new(p);
		buf_clear(&b);
		letter_standard(&b, l->number);
		fakepop_set_text(l, b.p, b.n);
	}
	buf_free(&b);
	return true;
}

SAY(say_empty)
{
	struct fakepop *p = ctx;

	(void)argc, (void)argv, (void)why, (void)cap;
	p->first = p->n;
	return true;
}

SAY(say_dovecot)
{
	struct fakepop *p = ctx;

	(void)argc, (void)argv, (void)why, (void)cap;
	p->dovecot = true;
	return true;
}

/* ---- words for the ways ---- */

static bool number(const char *word, unsigned *out, char *why, size_t cap)
{
	return scene_number(word, out) ||
		scene_bad(why, cap, "\"%s\" is no number", word);
}

/* The place of word among names; -1, with why. */
static int choose(const char *word, const char *const *names, char *why, size_t cap)
{
	int i;

	for (i = 0; names[i]; i++)
		if (strcmp(names[i], word) == 0)
			return i;
	scene_bad(why, cap, "\"%s\" is none of its words", word);
	return -1;
}

SAY(say_uidl)
{
	static const char *const names[] = { "normal", "off", "hidden", "number",
		"random", "reset", NULL };
	struct fakepop *p = ctx;
	int i = choose(argv[0], names, why, cap);

	(void)argc;
	if (i < 0)
		return false;
	if (strcmp(names[i], "reset") == 0)
		p->ways.epoch++;
	else
		p->ways.uidl = (enum uidl_mode)i;
	return true;
}

static void keep(struct fakepop *p, const char **to, const char *text)
{
	*to = *text ? fakepop_keep(p, text) : NULL;
}

#define SAY_TEXT(name, field) \
	SAY(name) \
	{ \
		struct fakepop *p = ctx; \
\
		(void)argc, (void)why, (void)cap; \
		keep(p, &p->ways.field, argv[0]); \
		return true; \
	}
SAY_TEXT(say_prefix, prefix)
SAY_TEXT(say_suffix, suffix)
SAY_TEXT(say_uidl_raw, uidls.raw)
SAY_TEXT(say_uidl_extra, uidls.extra)
SAY_TEXT(say_uidl_row, uidls.form)
SAY_TEXT(say_list_raw, lists.raw)
SAY_TEXT(say_list_extra, lists.extra)
SAY_TEXT(say_list_row, lists.form)
SAY_TEXT(say_greeting, greeting)
SAY_TEXT(say_inject, inject)

#define SAY_NUMBER(name, field) \
	SAY(name) \
	{ \
		struct fakepop *p = ctx; \
\
		(void)argc; \
		return number(argv[0], &p->ways.field, why, cap); \
	}
SAY_NUMBER(say_idle, idle_ms)
SAY_NUMBER(say_slow, slow)
SAY_NUMBER(say_window, window)
SAY_NUMBER(say_lock, lock_ms)
SAY_NUMBER(say_login_delay, login_delay_ms)

#define SAY_WORD(name, type, field, ...) \
	SAY(name) \
	{ \
		static const char *const names[] = { __VA_ARGS__, NULL }; \
		struct fakepop *p = ctx; \
		int i = choose(argv[0], names, why, cap); \
\
		(void)argc; \
		if (i >= 0) \
			p->ways.field = (type)i; \
		return i >= 0; \
	}
SAY_WORD(say_rows, bool, rows_down, "up", "down")
SAY_WORD(say_destructive, enum destruction, destruction, "off", "quit", "on")
SAY_WORD(say_pipelining, enum ahead, ahead, "off", "on", "lies", "ahead", "swallow")
SAY_WORD(say_rerender, bool, rerender, "off", "on")

SAY(say_dele)
{
	static const char *const names[] = { "ok", "ignored", NULL };
	struct fakepop *p = ctx;
	const char *most;
	int i;

	(void)argc;
	if (scene_is(argv[0], "partial", &most) && most) {
		p->ways.dele = DELE_PARTIAL;
		return number(most, &p->ways.dele_most, why, cap);
	}
	i = choose(argv[0], names, why, cap);
	if (i >= 0)
		p->ways.dele = (enum dele)i;
	return i >= 0;
}

SAY(say_capa)
{
	struct ways *w = &((struct fakepop *)ctx)->ways;
	size_t k;
	int i;

	for (i = 0; i < argc; i++) {
		const char *word = argv[i] + 1;

		if (strcmp(argv[i], "off") == 0) {
			w->capa_off = true;
		} else if (*argv[i] == '+' && w->n_capa < CAPAS) {
			w->capa[w->n_capa++] = fakepop_keep(ctx, word);
		} else if (*argv[i] == '-') {
			for (k = 0; k < w->n_capa; k++)
				if (strcmp(w->capa[k], word) == 0)
					w->capa[k--] = w->capa[--w->n_capa];
		} else {
			return scene_bad(why, cap, "capa: %s", argv[i]);
		}
	}
	return true;
}

SAY(say_after)
{
	static const char *const units[] = { "RETR", "BYTES", NULL };
	struct fakepop *p = ctx;
	int unit = choose(argv[1], units, why, cap);
	enum act act;

	(void)argc;
	if (unit < 0)
		return false;
	if (strcmp(argv[2], "drop") == 0)
		act = ACT_DROP;
	else if (strcmp(argv[2], "err") == 0 && !unit)
		act = ACT_REPLY;
	else if (strcmp(argv[2], "hang") == 0 && !unit)
		act = ACT_HANG;
	else
		return scene_bad(why, cap, "after: %s", argv[2]);
	p->ways.limit_bytes = unit;
	p->ways.limit_act = act;
	return number(argv[0], &p->ways.limit, why, cap);
}

/* ---- rules ---- */

/* COMMAND[#K][:N] */
static bool rule_command(struct rule *r, const char *word, char *why, size_t cap)
{
	const size_t n = strcspn(word, "#:");
	char *rest;
	size_t i;

	for (i = 0; i < POP_COMMANDS; i++)
		if (strlen(pop_commands[i]) == n &&
			text_same_n(pop_commands[i], word, n))
			break;
	if (i == POP_COMMANDS)
		return scene_bad(why, cap, "\"%s\" is no command", word);
	r->command = (enum pop_command)i;
	rest = (char *)(uintptr_t)(word + n);
	if (*rest == '#')
		r->nth = (unsigned)strtoul(rest + 1, &rest, 10);
	if (*rest == ':')
		r->letter = (unsigned)strtoul(rest + 1, &rest, 10);
	return !*rest || scene_bad(why, cap, "\"%s\" is not like RETR#2:3", word);
}

/* "long=N" is "+OK yyyy...", so many bytes. */
static char *rule_text(const char *word)
{
	struct buf b = BUF_INIT(1024 * 1024);
	const char *value;
	unsigned n;

	if (!scene_is(word, "long", &value) || !value || !scene_number(value, &n))
		return xstrdup(word);
	buf_adds(&b, "+OK ");
	while (b.n < n)
		buf_addc(&b, 'y');
	return buf_take(&b);
}

SAY(say_on)
{
	static const char *const acts[] = { "reply", "extra", "delay", "hang", "drop",
		"kill", "stop", NULL };
	struct fakepop *p = ctx;
	struct rule r = { .command = POP_COMMANDS };
	const char *value;
	int i = 2, act;

	if (p->n_rules == RULES)
		return scene_bad(why, cap, "more than %d rules", RULES);
	if (!rule_command(&r, argv[0], why, cap))
		return false;
	act = choose(argv[1], acts, why, cap);
	if (act < 0)
		return false;
	r.act = (enum act)act;
	if (r.act <= ACT_DELAY && argc < 3)
		return scene_bad(why, cap, "on: %s needs a value", argv[1]);
	if (r.act <= ACT_DELAY)
		i++;
	if (r.act == ACT_DELAY && !number(argv[2], &r.ms, why, cap))
		return false;
	for (; i < argc; i++) {
		if (strcmp(argv[i], "done") == 0)
			r.done = true;
		else if (!scene_is(argv[i], "times", &value) || !value ||
			!scene_number(value, &r.left))
			return scene_bad(why, cap, "on: %s", argv[i]);
	}
	if (r.act < ACT_DELAY)
		r.text = rule_text(argv[2]);
	p->rules[p->n_rules++] = r;
	return true;
}

SAY(say_well)
{
	struct fakepop *p = ctx;
	struct ways *w = &p->ways;

	(void)argc, (void)argv, (void)why, (void)cap;
	while (p->n_rules)
		free(p->rules[--p->n_rules].text);
	w->limit = w->idle_ms = w->slow = w->lock_ms = w->login_delay_ms = 0;
	w->ahead = AHEAD_OFF;
	w->dele = DELE_OK;
	w->capa_off = false;
	return true;
}

static bool say(struct fakepop *p, int argc, char **argv, char *why, size_t cap);

SAY(say_session)
{
	struct fakepop *p = ctx;
	struct later *l = &p->later[p->n_later];
	unsigned k;
	int i;

	if (p->n_later == LATER || !number(argv[0], &k, why, cap) || !k)
		return scene_bad(why, cap, "session: %s", argv[0]);
	*l = (struct later){ p->connections + k, argc - 1,
		xcalloc((size_t)argc, sizeof(char *)) };
	for (i = 1; i < argc; i++)
		l->argv[i - 1] = xstrdup(argv[i]);
	p->n_later++;
	return true;
}

/* ---- the words ---- */

static const struct scene_verb words[] = {
	{ "msgs", 1, 1, say_msgs },
	{ "empty", 0, 0, say_empty },
	{ "dovecot", 0, 0, say_dovecot },
	{ "vanish", 1, -1, say_vanish },
	{ "return", 1, -1, say_return },
	{ "order", 1, -1, say_order },
	{ "uidl", 1, 1, say_uidl },
	{ "uidl.prefix", 1, 1, say_prefix },
	{ "uidl.suffix", 1, 1, say_suffix },
	{ "uidl.drop", 1, -1, say_uidl_drop },
	{ "uidl.raw", 1, 1, say_uidl_raw },
	{ "uidl.extra", 1, 1, say_uidl_extra },
	{ "uidl.row", 1, 1, say_uidl_row },
	{ "list.drop", 1, -1, say_list_drop },
	{ "list.raw", 1, 1, say_list_raw },
	{ "list.extra", 1, 1, say_list_extra },
	{ "list.row", 1, 1, say_list_row },
	{ "rows", 1, 1, say_rows },
	{ "on", 2, 5, say_on },
	{ "after", 3, 3, say_after },
	{ "idle", 1, 1, say_idle },
	{ "slow", 1, 1, say_slow },
	{ "window", 1, 1, say_window },
	{ "destructive", 1, 1, say_destructive },
	{ "lock", 1, 1, say_lock },
	{ "login-delay", 1, 1, say_login_delay },
	{ "greeting", 1, 1, say_greeting },
	{ "capa", 1, -1, say_capa },
	{ "pipelining", 1, 1, say_pipelining },
	{ "dele", 1, 1, say_dele },
	{ "inject", 1, 1, say_inject },
	{ "rerender", 1, 1, say_rerender },
	{ "session", 2, -1, say_session },
	{ "well", 0, 0, say_well },
};

struct forms {
	struct fakepop *p;
	int argc;
	char **argv, *why;
	size_t cap;
	bool ok;
};

static void compose(void *ctx, const struct scene_pick *pick)
{
	struct forms *f = ctx;
	struct letter *l = fakepop_letter(f->p, pick->number);

	if (f->ok && !l)
		f->ok = scene_bad(
			f->why, f->cap, "there is no message %u", pick->number);
	if (f->ok)
		f->ok = letter_words(f->p, l, f->argc, f->argv, f->why, f->cap);
}

/* "retr.3 ...", "uidl.1..5 ...", "list.2 ..." */
static bool say_numbered(
	struct fakepop *p, int argc, char **argv, char *why, size_t cap)
{
	char *list = strchr(argv[0], '.') + 1;
	struct each e = { .p = p, .value = argc > 1 ? argv[1] : "" };
	struct forms f = { p, argc - 1, argv + 1, why, cap, true };

	if (text_starts(argv[0], "retr."))
		return scene_pick(list, compose, &f, why, cap) && f.ok;
	if (argc != 2)
		return scene_bad(why, cap, "%s: one word must follow", argv[0]);
	if (text_starts(argv[0], "uidl."))
		e.does = set_uidl;
	else if (text_starts(argv[0], "list."))
		e.does = set_size;
	else
		return scene_bad(why, cap, "there is no \"%s\" here", argv[0]);
	return each_of(&e, 1, &list, why, cap);
}

static bool say(struct fakepop *p, int argc, char **argv, char *why, size_t cap)
{
	const char *dot = strchr(argv[0], '.');

	if (dot && dot[1] >= '0' && dot[1] <= '9')
		return say_numbered(p, argc, argv, why, cap);
	return scene_say(words, N_ELEMENTS(words), p, argc, argv, why, cap);
}

bool fakepop_say(struct fakepop *p, int argc, char **argv, char *why, size_t cap)
{
	bool ok;

	pthread_mutex_lock(&p->lock);
	ok = say(p, argc, argv, why, cap);
	pthread_mutex_unlock(&p->lock);
	return ok;
}
