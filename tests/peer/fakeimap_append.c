/* fakeimap_append.c: APPEND at the fake IMAP server. */
#include "fakeimap_p.h"

#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The messages of one command. */
struct group {
	char *text[GROUP];
	size_t size[GROUP], n;
	unsigned first;   /* its number among those offered */
	bool whole;       /* every byte of the command came */
	bool literal;     /* every byte of the last literal came */
	struct rule drop; /* what cuts it off; its texts are not owned */
};

static bool any(const struct group *g, const char *text)
{
	size_t i;

	for (i = 0; text && i < g->n; i++)
		if (memmem(g->text[i], g->size[i], text, strlen(text)))
			return true;
	return false;
}

static bool take_literal(struct session *c, struct group *g, size_t size)
{
	char *text = xmalloc(size + 1);
	size_t k;

	if (g->n == GROUP)
		abort();
	g->text[g->n] = text;
	g->size[g->n++] = size;
	g->literal = false;
	memset(text, 0, size + 1);
	for (k = 0; k < size; k++)
		if (!imapd_get(c, &text[k]))
			return false;
	g->literal = true;
	return true;
}

/* ---- refused for its arguments: what follows is read as commands ---- */

/* An announced literal is refused in place of "+". */
static bool literal_refused(struct session *c, const char *tag, size_t size)
{
	struct acts *a = &c->s->acts;

	if (!a->literal.text || size <= a->literal.over)
		return false;
	if (a->literal.times && --a->literal.times == 0) {
		a->literal.over = UINT32_MAX; /* that was the last */
	}
	if (a->literal.silence)
		return true;
	if (a->literal.bye)
		imapd_end(c, END_BYE, a->literal.text);
	else
		imapd_say(c, "%s %s\r\n", a->literal.untagged ? "*" : tag,
			a->literal.text);
	return true;
}

static bool say_flaw(struct session *c, const char *tag, enum flaw f)
{
	const struct acts *a = &c->s->acts;

	if (!a->refuse[f])
		return false;
	if (a->kill[f])
		imapd_end(c, END_BYE, a->refuse[f]);
	else
		imapd_say(c, "%s %s\r\n", tag, a->refuse[f]);
	return true;
}

static bool arguments_refused(
	struct session *c, const char *tag, const char *args, size_t size, bool sync)
{
	const struct acts *a = &c->s->acts;
	const char *flags = strchr(args, '('), *date = strstr(args, " \"");

	if (!sync && !imapd_can(c, "LITERAL+") &&
		(!imapd_can(c, "LITERAL-") || size > 4096)) {
		imapd_say(c, "%s BAD literal\r\n", tag);
		return true;
	}
	if (date && c->ways.refuse_dates) {
		imapd_say(c, "%s BAD Invalid date\r\n", tag);
		return true;
	}
	if (flags && flags[1] != ')' && say_flaw(c, tag, FLAW_FLAGS))
		return true;
	if (date && strchr(date, ':') && say_flaw(c, tag, FLAW_DATE))
		return true;
	if (size == 0 && say_flaw(c, tag, FLAW_EMPTY))
		return true;
	if (sync && a->maxmsg && size > a->maxmsg) {
		imapd_say(c, "%s %s\r\n", tag, a->maxmsg_text);
		return true;
	}
	return literal_refused(c, tag, size);
}

/* A rule that ends the connection in the middle of this message. */
static void look_for_cut(struct session *c, struct group *g)
{
	unsigned k = g->first + (unsigned)g->n;
	size_t i;

	for (i = 0; i < c->s->acts.n_rules; i++) {
		const struct rule *r = &c->s->acts.rules[i];

		if (r->end == END_DROP && (!r->k || r->k == k)) {
			g->drop = *r;
			c->cut_at = r->drop_at;
		}
	}
}

/* The messages of one command. False: it is over, one way or another. */
static bool gather(struct session *c, const char *tag, const char *args,
	struct group *g, char *line)
{
	const char *brace;

	while ((brace = strrchr(args, '{'))) {
		size_t size = strtoul(brace + 1, NULL, 10);
		bool sync = !strchr(brace, '+');

		if (g->n && !imapd_can(c, "MULTIAPPEND")) {
			imapd_say(c, "%s BAD one at a time\r\n", tag);
			return false;
		}
		if (arguments_refused(c, tag, args, size, sync))
			return false;
		look_for_cut(c, g);
		if (sync)
			imapd_say(c, "+ OK\r\n");
		if (!take_literal(c, g, size) || !imapd_hear(c, line)) {
			c->ended = true;
			return false;
		}
		args = line;
		buf_adds(&c->s->heard, line);
		buf_addc(&c->s->heard, '\n');
	}
	g->whole = true;
	return true;
}

/* ---- refused for what is in it ---- */

static void header_of(const struct group *g, size_t i, const char **p, size_t *n)
{
	const char *end = memmem(g->text[i], g->size[i], "\r\n\r\n", 4);

	*p = g->text[i];
	*n = end ? (size_t)(end - *p) : g->size[i];
}

static bool bare_lf(const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (p[i] == '\n' && (!i || p[i - 1] != '\r'))
			return true;
	return false;
}

static bool long_line(const char *p, size_t n, size_t most)
{
	size_t i, at = 0;

	for (i = 0; i < n; i++) {
		if (i - at > most)
			return true;
		if (p[i] == '\n')
			at = i + 1;
	}
	return false;
}

static bool high(const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if ((unsigned char)p[i] >= 0x80)
			return true;
	return false;
}

/* A line that is neither a field nor its continuation, as Cyrus sees it (quirk Q83). */
static bool bad_header(const char *p, size_t n)
{
	size_t at, len, name;

	for (at = 0; at < n; at += len) {
		const char *lf = memchr(p + at, '\n', n - at);

		len = lf ? (size_t)(lf - p) - at + 1 : n - at;
		for (name = 0; name < len && p[at + name] > ' ' && p[at + name] != ':';
			name++)
			;
		if (p[at] != ' ' && p[at] != '\t' && p[at] != '\r' &&
			(!name || name == len || p[at + name] != ':') &&
			(at || len < 5 || memcmp(p, "From ", 5) != 0))
			return true;
	}
	return false;
}

static bool has_flaw(const struct acts *a, const struct group *g, size_t i, enum flaw f)
{
	const char *p = g->text[i], *head;
	size_t n = g->size[i], head_n;

	header_of(g, i, &head, &head_n);
	switch (f) {
	case FLAW_NUL:
		return memchr(p, '\0', n);
	case FLAW_BARELF:
		return bare_lf(p, n);
	case FLAW_8BIT_HEADER:
		return high(head, head_n);
	case FLAW_LONG_LINE:
		return long_line(p, n, a->long_line);
	case FLAW_BAD_HEADER:
		return bad_header(head, head_n);
	case FLAW_NO_FINAL_CRLF:
		return n < 2 || memcmp(p + n - 2, "\r\n", 2) != 0;
	case FLAW_MBOXFROM:
		return (n > 5 && memcmp(p, "From ", 5) == 0) ||
			(n > 6 && memcmp(p, ">From ", 6) == 0);
	case FLAW_EMPTY:
	case FLAW_FLAGS:
	case FLAW_DATE:
	case FLAWS:
		break;
	}
	return false;
}

static bool content_refused(struct session *c, const char *tag, const struct group *g)
{
	const struct acts *a = &c->s->acts;
	size_t i;
	int f;

	for (i = 0; i < g->n; i++) {
		for (f = 0; f < FLAWS; f++)
			if (a->refuse[f] && has_flaw(a, g, i, (enum flaw)f))
				return say_flaw(c, tag, (enum flaw)f);
		if (a->maxmsg && g->size[i] > a->maxmsg) {
			imapd_say(c, "%s %s\r\n", tag, a->maxmsg_text);
			return true;
		}
	}
	return false;
}

/* ---- storing ---- */

static bool equal_there(const struct box *b, const struct group *g, size_t i)
{
	size_t k;

	for (k = 0; k < b->n; k++)
		if (b->m[k].sent_n == g->size[i] &&
			memcmp(b->m[k].sent, g->text[i], g->size[i]) == 0)
			return true;
	return false;
}

struct receipt {
	unsigned first, last; /* UIDs */
};

static struct receipt store(struct session *c, struct box *b, const struct group *g,
	const struct rule *r, int64_t from_ms)
{
	struct fakeimap *s = c->s;
	enum mutation how = r && r->mutate ? r->mutate : s->acts.mutate;
	struct receipt out = { 0, 0 };
	size_t i;

	for (i = 0; i < g->n; i++) {
		events_due(s, s->stored + 1, true);
		if (s->acts.gmail && equal_there(b, g, i))
			out.last = b->uidnext++;
		else
			out.last = box_keep(b, g->text[i], g->size[i], from_ms, how);
		if (!i)
			out.first = out.last;
		events_due(s, ++s->stored, false);
	}
	s->changes++;
	c->stored += (unsigned)g->n;
	return out;
}

static int64_t legacy_late(const struct session *c, const struct group *g)
{
	return c->ways.commit == COMMIT_LATE && any(g, c->ways.drop)
		? clock_ms() + c->ways.late_ms
		: 0;
}

static void confirm(struct session *c, const char *tag, const struct box *b,
	struct receipt at, enum uid_told told)
{
	unsigned validity = b->uidvalidity;

	if (c->ways.same_uid)
		told = UID_SAME;
	switch (told) {
	case UID_TRUE:
		break;
	case UID_NONE:
		imapd_say(c, "%s OK done\r\n", tag);
		return;
	case UID_WRONG:
		at.first += 1000;
		at.last += 1000;
		break;
	case UID_ZERO:
		at.first = at.last = 0;
		break;
	case UID_SAME:
		at.first = at.last = 1;
		break;
	case UID_VALIDITY:
		validity += 1000;
		break;
	}
	if (!imapd_can(c, "UIDPLUS"))
		imapd_say(c, "%s OK done\r\n", tag);
	else if (at.first == at.last)
		imapd_say(
			c, "%s OK [APPENDUID %u %u] done\r\n", tag, validity, at.first);
	else
		imapd_say(c, "%s OK [APPENDUID %u %u:%u] done\r\n", tag, validity,
			at.first, at.last);
}

/* ---- the answer ---- */

static struct rule *rule_for(struct session *c, const struct group *g)
{
	struct acts *a = &c->s->acts;
	size_t i;

	for (i = 0; i < a->n_rules; i++) {
		struct rule *r = &a->rules[i];

		if (strcmp(r->verb, "APPEND") != 0 || r->end == END_DROP ||
			(r->k && (r->k < g->first || r->k >= g->first + g->n)) ||
			(r->text && !any(g, r->text)) || r->seen++ < r->skip ||
			(r->times && r->used >= r->times))
			continue;
		r->used++;
		return r;
	}
	return NULL;
}

static bool commits(const struct rule *r)
{
	if (r->how != BY_ANSWER)
		return r->commit != COMMIT_NO;
	return r->end == END_OK && (!r->tagged || text_starts(r->tagged, "OK"));
}

/* True when the rule has said it all. */
static bool by_rule(struct session *c, const char *tag, struct box *b,
	const struct group *g, const struct rule *r)
{
	bool stores = commits(r);

	if (r->untagged)
		imapd_say(c, "%s\r\n", r->untagged);
	if (!r->tagged && r->end == END_OK && r->how == BY_ANSWER)
		return false;
	if (stores)
		store(c, b, g, r,
			r->commit == COMMIT_LATE ? clock_ms() + r->late_ms : 0);
	if (r->end != END_OK)
		imapd_end(c, r->end, r->bye);
	else if (r->tagged)
		imapd_say(c, "%s %s\r\n", tag, r->tagged);
	else
		imapd_say(c, "%s OK done\r\n", tag);
	return true;
}

/* What struct fakeimap_ways says. True: answered. */
static bool by_ways(
	struct session *c, const char *tag, struct box *b, const struct group *g)
{
	const struct fakeimap_ways *w = &c->ways;
	struct fakeimap *s = c->s;
	unsigned total = box_total(s);

	if (any(g, w->drop) && s->skipped++ >= w->drop_skip &&
		(!w->drop_times || s->dropped < w->drop_times)) {
		s->dropped++;
		if (w->commit != COMMIT_NO)
			store(c, b, g, NULL, legacy_late(c, g));
		c->ended = true;
	} else if ((w->bye_after && c->stored + g->n > w->bye_after) ||
		(w->ill_after && total >= w->ill_after) ||
		(w->down_after && total >= w->down_after)) {
		imapd_end(c, END_BYE, "enough for now");
	} else if (any(g, w->refuse)) {
		imapd_say(c, "%s %s\r\n", tag, w->refusal);
	} else if (w->quota && total + g->n > w->quota) {
		imapd_say(c, "%s NO [OVERQUOTA] no room left\r\n", tag);
	} else {
		return false;
	}
	return true;
}

static void judge(
	struct session *c, const char *tag, const char *name, const struct group *g)
{
	struct fakeimap *s = c->s;
	struct acts *a = &s->acts;
	struct box *b = box_find(s, name, false);
	struct rule *r;

	if (!b || b->noselect) {
		imapd_say(c, "%s NO [TRYCREATE] no such mailbox\r\n", tag);
		return;
	}
	if (b->readonly || a->readonly) {
		imapd_say(c, "%s NO [NOPERM] read-only\r\n", tag);
		return;
	}
	r = rule_for(c, g);
	if ((r && by_rule(c, tag, b, g, r)) || content_refused(c, tag, g) ||
		by_ways(c, tag, b, g))
		return;
	if (a->bye_after && c->stored + g->n > a->bye_after)
		imapd_end(c, END_BYE, "enough for now");
	else if (a->quota && box_total(s) + g->n > a->quota)
		imapd_say(c, "%s %s\r\n", tag, a->quota_text);
	else
		confirm(c, tag, b, store(c, b, g, r, legacy_late(c, g)),
			r && r->uid ? r->uid : a->uid);
}

/* The connection ended in its middle: some servers have it all the same (Q110). */
static void judge_cut(struct session *c, const char *name, const struct group *g)
{
	struct box *b = box_find(c->s, name, false);
	const struct rule *r = &g->drop;
	bool early = r->how == BY_RULE_EARLY && g->n && g->literal;

	if (b && (g->whole || early) && r->commit != COMMIT_NO)
		store(c, b, g, r, 0);
	c->ended = true;
}

/* The client went away, or was cut off, after a whole literal. */
static void judge_gone(struct session *c, const char *name, const struct group *g)
{
	struct box *b = box_find(c->s, name, false);
	const struct rule *r = rule_for(c, g);

	if (b && r && r->how == BY_RULE_EARLY)
		store(c, b, g, r, 0);
}

void append_run(struct session *c, const char *tag, const char *args)
{
	struct group *g = xcalloc(1, sizeof(*g));
	char name[NAME], *line = xmalloc(LINE);
	bool whole;
	size_t i;

	imapd_word(&args, name, sizeof(name));
	g->first = c->s->offered + 1;
	whole = gather(c, tag, args, g, line);
	c->s->offered += (unsigned)g->n;
	if (g->n && !g->literal && !c->cut)
		c->s->offered--; /* the client went away in its middle */
	if (c->cut_at && (c->cut || c->bytes >= c->cut_at))
		judge_cut(c, name, g);
	else if (whole && any(g, c->ways.hang))
		imapd_end(c, END_HANG, NULL);
	else if (whole)
		judge(c, tag, name, g);
	else if (c->ended && g->n && g->literal)
		judge_gone(c, name, g);
	for (i = 0; i < g->n; i++)
		free(g->text[i]);
	free(g);
	free(line);
}
