/* popask.c: what tests in C say to the POP3 server, and what all ask of it. */
#include "fakepop_p.h"
#include "scene.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdio.h>
#include <string.h>

/* ---- for tests in C ---- */

void fakepop_behave(struct fakepop *p, const struct fakepop_ways *ways)
{
	pthread_mutex_lock(&p->lock);
	p->ways.old = *ways;
	p->ways.uidl = ways->no_uidl ? UIDL_OFF : UIDL_NORMAL;
	p->ways.ahead = ways->lies  ? AHEAD_LIES
		: ways->hates_ahead ? AHEAD_RETR
		: ways->pipelining  ? AHEAD_ON
				    : AHEAD_OFF;
	p->behaved = 0;
	pthread_mutex_unlock(&p->lock);
}

void fakepop_add(struct fakepop *p, const char *uidl, const char *text)
{
	struct letter *l;

	pthread_mutex_lock(&p->lock);
	l = fakepop_new(p);
	fakepop_set_text(l, text, strlen(text));
	l->uidl = uidl ? xstrdup(uidl) : NULL;
	pthread_mutex_unlock(&p->lock);
}

void fakepop_empty(struct fakepop *p)
{
	pthread_mutex_lock(&p->lock);
	p->first = p->n;
	pthread_mutex_unlock(&p->lock);
}

void fakepop_prefix(struct fakepop *p, const char *prefix)
{
	pthread_mutex_lock(&p->lock);
	p->ways.prefix = fakepop_keep(p, prefix);
	pthread_mutex_unlock(&p->lock);
}

void fakepop_on_event(
	struct fakepop *p, void (*tell)(void *ctx, enum fakepop_event what), void *ctx)
{
	p->tell = tell;
	p->tell_ctx = ctx;
}

/* ---- questions ---- */

static size_t command_named(const char *name)
{
	size_t i;

	for (i = 0; i < POP_COMMANDS; i++)
		if (text_same(pop_commands[i], name))
			break;
	return i;
}

unsigned fakepop_count(struct fakepop *p, const char *command)
{
	const size_t i = command_named(command);
	unsigned n;

	pthread_mutex_lock(&p->lock);
	n = i < POP_COMMANDS ? p->counts[i] : 0;
	pthread_mutex_unlock(&p->lock);
	return n;
}

void fakepop_mark(struct fakepop *p)
{
	pthread_mutex_lock(&p->lock);
	p->mark.connections = p->connections;
	p->mark.logins = p->logins;
	memcpy(p->mark.counts, p->counts, sizeof(p->counts));
	pthread_mutex_unlock(&p->lock);
}

unsigned fakepop_sessions(struct fakepop *p)
{
	unsigned n;

	pthread_mutex_lock(&p->lock);
	n = p->connections - p->mark.connections;
	pthread_mutex_unlock(&p->lock);
	return n;
}

unsigned fakepop_logins(struct fakepop *p)
{
	unsigned n;

	pthread_mutex_lock(&p->lock);
	n = p->logins - p->mark.logins;
	pthread_mutex_unlock(&p->lock);
	return n;
}

const char *fakepop_violation(struct fakepop *p)
{
	const char *what;

	pthread_mutex_lock(&p->lock);
	what = *p->violation ? p->violation : NULL;
	pthread_mutex_unlock(&p->lock);
	return what;
}

unsigned fakepop_messages(struct fakepop *p)
{
	unsigned n;

	pthread_mutex_lock(&p->lock);
	n = (unsigned)(p->n - p->first);
	pthread_mutex_unlock(&p->lock);
	return n;
}

const char *fakepop_text(struct fakepop *p, unsigned n, size_t *len)
{
	const struct letter *l;
	const char *text;

	pthread_mutex_lock(&p->lock);
	l = fakepop_letter(p, n);
	text = l ? l->text : NULL;
	*len = l ? l->n : 0;
	pthread_mutex_unlock(&p->lock);
	return text;
}

const char *fakepop_uidl(struct fakepop *p, unsigned n)
{
	struct buf b = BUF_INIT(sizeof(p->said_uidl) - 1);
	const struct letter *l;
	const char *out = NULL;

	pthread_mutex_lock(&p->lock);
	l = fakepop_letter(p, n);
	if (l && fakepop_add_uidl(p, &p->ways, l, n, &b) && b.n) {
		snprintf(p->said_uidl, sizeof(p->said_uidl), "%s", buf_str(&b));
		out = p->said_uidl;
	}
	pthread_mutex_unlock(&p->lock);
	buf_free(&b);
	return out;
}

bool fakepop_holds(struct fakepop *p, unsigned n)
{
	const struct letter *l;
	bool yes;

	pthread_mutex_lock(&p->lock);
	l = fakepop_letter(p, n);
	yes = l && !l->gone;
	pthread_mutex_unlock(&p->lock);
	return yes;
}

/* ---- expect ---- */

static bool want_count(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct fakepop *p = ctx;
	const size_t i = command_named(argv[0]);

	if (i == POP_COMMANDS)
		return scene_bad(why, cap, "\"%s\" is no command", argv[0]);
	return scene_compare(pop_commands[i], p->counts[i] - p->mark.counts[i],
		argc - 1, argv + 1, why, cap);
}

struct seen {
	struct fakepop *p;
	bool seen;
	unsigned wrong;
};

static void check_seen(void *ctx, const struct scene_pick *pick)
{
	struct seen *s = ctx;
	const struct letter *l = fakepop_letter(s->p, pick->number);

	if (!l || l->seen != s->seen)
		s->wrong = pick->number;
}

static bool want_marks(
	struct fakepop *p, bool seen, int argc, char **argv, char *why, size_t cap)
{
	struct seen s = { p, seen, 0 };
	int i;

	for (i = 0; i < argc; i++)
		if (!scene_pick(argv[i], check_seen, &s, why, cap))
			return false;
	return !s.wrong ||
		scene_bad(
			why, cap, "message %u is %sseen", s.wrong, seen ? "not " : "");
}

static bool want_seen(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	return want_marks(ctx, true, argc, argv, why, cap);
}

static bool want_unseen(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	return want_marks(ctx, false, argc, argv, why, cap);
}

bool fakepop_expect(struct fakepop *p, int argc, char **argv, char *why, size_t cap)
{
	static const struct scene_verb verbs[] = {
		{ "count", 2, 3, want_count },
		{ "seen", 1, -1, want_seen },
		{ "unseen", 1, -1, want_unseen },
	};
	bool ok;

	pthread_mutex_lock(&p->lock);
	ok = scene_say(verbs, N_ELEMENTS(verbs), p, argc, argv, why, cap);
	pthread_mutex_unlock(&p->lock);
	return ok;
}
