/* fakeimap_cmd.c: the commands of the fake IMAP server, but for APPEND. */
#include "fakeimap_p.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *delimiter(const struct session *c)
{
	const struct acts *a = &c->s->acts;

	return a->delimiter ? a->delimiter : "/";
}

/* ---- the session ---- */

static void do_capability(struct session *c, const char *tag, const char *args)
{
	(void)args;
	imapd_say(c, "* CAPABILITY IMAP4rev1 %s\r\n%s OK done\r\n", imapd_capa(c), tag);
}

static void do_login(struct session *c, const char *tag, const char *args)
{
	(void)args;
	c->s->logins++;
	c->logged_in = true;
	imapd_say(c, "%s OK done\r\n", tag);
}

static void do_authenticate(struct session *c, const char *tag, const char *args)
{
	char line[LINE];

	if (!strchr(args, ' ') ||
		(!imapd_can(c, "SASL-IR") && !getenv("KIT_DOVECOT"))) {
		imapd_say(c, "+ \r\n");
		c->ended = !imapd_hear(c, line);
	}
	if (!c->ended)
		do_login(c, tag, args);
}

static void do_id(struct session *c, const char *tag, const char *args)
{
	(void)args;
	c->said_id = true;
	imapd_say(c, "* ID NIL\r\n%s OK done\r\n", tag);
}

static void do_namespace(struct session *c, const char *tag, const char *args)
{
	const char *ns = c->s->acts.ns;

	(void)args;
	imapd_say(c, "* NAMESPACE %s\r\n%s OK done\r\n",
		ns ? ns : "((\"\" \"/\")) NIL NIL", tag);
}

static void do_logout(struct session *c, const char *tag, const char *args)
{
	(void)args;
	imapd_say(c, "* BYE\r\n%s OK done\r\n", tag);
	c->ended = true;
}

static void do_nothing(struct session *c, const char *tag, const char *args)
{
	(void)args;
	imapd_say(c, "%s OK done\r\n", tag);
}

/* ---- mailboxes ---- */

/* A quoted string; an empty delimiter is NIL. */
static void add_quoted(struct buf *b, const char *s, bool nil)
{
	if (nil && !*s) {
		buf_adds(b, "NIL");
		return;
	}
	buf_addc(b, '"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			buf_addc(b, '\\');
		buf_addc(b, *s);
	}
	buf_addc(b, '"');
}

static void list_entry(
	struct session *c, const char *verb, const char *flags, const char *name)
{
	struct buf b = BUF_INIT(LINE);

	buf_addf(&b, "* %s (%s) ", verb, flags);
	add_quoted(&b, delimiter(c), true);
	buf_addc(&b, ' ');
	add_quoted(&b, name, false);
	imapd_say(c, "%s\r\n", buf_str(&b));
	buf_free(&b);
}

static void list_box(struct session *c, const char *verb, const struct box *b)
{
	bool plain = c->s->acts.xlist_only && strcmp(verb, "LIST") == 0;
	char flags[NAME + 40];

	snprintf(flags, sizeof(flags), "%s%s%s", plain ? "" : b->attr,
		b->noselect ? " \\Noselect" : "",
		b->noinferiors ? " \\Noinferiors" : "");
	list_entry(c, verb, flags + (flags[0] == ' '), b->name);
}

static void list(struct session *c, const char *verb, const char *tag, const char *args)
{
	char name[NAME];
	size_t i;

	imapd_word(&args, name, sizeof(name));
	imapd_word(&args, name, sizeof(name));
	if (!*name)
		list_entry(c, verb, "\\Noselect", "");
	for (i = 0; i < c->s->n_boxes; i++)
		if (strcmp(name, "*") == 0 ||
			box_find(c->s, name, false) == c->s->boxes[i])
			list_box(c, verb, c->s->boxes[i]);
	imapd_say(c, "%s OK done\r\n", tag);
}

static void do_list(struct session *c, const char *tag, const char *args)
{
	list(c, "LIST", tag, args);
}

static void do_xlist(struct session *c, const char *tag, const char *args)
{
	if (imapd_can(c, "XLIST"))
		list(c, "XLIST", tag, args);
	else
		imapd_say(c, "%s BAD what is that?\r\n", tag);
}

static unsigned depth_of(const char *name, const char *d)
{
	unsigned n = 1;

	for (; *d && *name; name++)
		n += *name == *d;
	return n;
}

/* Why a mailbox of this name cannot be, or NULL. */
static const char *name_refused(struct session *c, const char *name)
{
	const struct acts *a = &c->s->acts;
	const char *d = delimiter(c), *last = *d ? strrchr(name, *d) : NULL;
	char parent[NAME];
	const struct box *b;

	if (a->bad_chars && strpbrk(name, a->bad_chars))
		return "NO [CANNOT] Invalid mailbox name";
	if (a->prefix && !text_starts(name, a->prefix))
		return "NO Invalid mailbox name.";
	if (a->depth && depth_of(name, d) > a->depth)
		return "NO [CANNOT] too deep";
	if (!last)
		return NULL;
	snprintf(parent, sizeof(parent), "%.*s", (int)(last - name), name);
	b = box_find(c->s, parent, false);
	return b && b->noinferiors ? "NO [CANNOT] no inferiors" : NULL;
}

static void make_parents(struct session *c, const char *name)
{
	const char *d = delimiter(c), *p;
	char parent[NAME];

	for (p = name; *d && (p = strchr(p, *d)) != NULL; p++) {
		snprintf(parent, sizeof(parent), "%.*s", (int)(p - name), name);
		if (!box_find(c->s, parent, false))
			box_find(c->s, parent, true)->noselect = true;
	}
}

static void do_create(struct session *c, const char *tag, const char *args)
{
	const char *why;
	struct box *b;
	char name[NAME], *p;

	imapd_word(&args, name, sizeof(name));
	why = name_refused(c, name);
	b = box_find(c->s, name, false);
	if (!why && b && !b->noselect && c->s->acts.nocase)
		why = "NO [ALREADYEXISTS] Mailbox already exists";
	if (why) {
		imapd_say(c, "%s %s\r\n", tag, why);
		return;
	}
	for (p = name; c->s->acts.create_lower && *p; p++)
		*p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
	if (c->s->acts.parents)
		make_parents(c, name);
	b = box_find(c->s, name, true);
	b->noselect = false;
	if (strstr(args, "(USE ("))
		snprintf(b->attr, sizeof(b->attr), "%s", strchr(args, '\\'));
	b->attr[strcspn(b->attr, ")")] = '\0';
	c->s->changes++;
	imapd_say(c, "%s OK done\r\n", tag);
}

static void do_subscribe(struct session *c, const char *tag, const char *args)
{
	char name[NAME];
	struct box *b;

	imapd_word(&args, name, sizeof(name));
	b = box_find(c->s, name, false);
	if (b)
		b->subscribed = true;
	imapd_say(c, "%s OK done\r\n", tag);
}

static void do_status(struct session *c, const char *tag, const char *args)
{
	char name[NAME];
	const struct box *b;

	imapd_word(&args, name, sizeof(name));
	b = box_find(c->s, name, false);
	if (!b) {
		imapd_say(c, "%s NO [NONEXISTENT] no such mailbox\r\n", tag);
		return;
	}
	imapd_say(c, "* STATUS \"%s\" (MESSAGES %zu UIDNEXT %u UIDVALIDITY %u", name,
		b->n, b->uidnext, b->uidvalidity);
	if (c->s->acts.has_appendlimit)
		imapd_say(c, " APPENDLIMIT %u", c->s->acts.appendlimit);
	imapd_say(c, ")\r\n%s OK done\r\n", tag);
}

static unsigned next_uid(const struct box *b, size_t shown)
{
	if (shown)
		return b->m[shown - 1].uid + 1;
	return b->n ? b->m[0].uid : b->uidnext;
}

/* The first that is shown, where only the newest are. */
static size_t hidden(const struct session *c)
{
	size_t most = c->s->acts.exists;

	return most && c->shown > most ? c->shown - most : 0;
}

static void tell_selected(struct session *c)
{
	const struct acts *a = &c->s->acts;
	const struct box *b = c->selected;

	imapd_say(c,
		"* FLAGS (\\Seen \\Answered \\Flagged \\Draft)\r\n* %zu EXISTS\r\n"
		"* 0 RECENT\r\n",
		c->shown - hidden(c));
	if (a->uidvalidity != NUMBER_MISSING)
		imapd_say(c, "* OK [UIDVALIDITY %u] ok\r\n",
			a->uidvalidity == NUMBER_ZERO ? 0 : b->uidvalidity);
	if (a->uidnext != NUMBER_MISSING)
		imapd_say(c, "* OK [UIDNEXT %u] ok\r\n",
			a->uidnext == NUMBER_ZERO ? 0
				: c->shown < b->n ? next_uid(b, c->shown)
						  : b->uidnext);
}

static void open_box(
	struct session *c, const char *tag, const char *args, bool readonly)
{
	const struct acts *a = &c->s->acts;
	char name[NAME];
	struct box *b;

	imapd_word(&args, name, sizeof(name));
	b = c->selected = box_find(c->s, name, false);
	if (a->need_id && !c->said_id) {
		imapd_say(c,
			"%s NO SELECT Unsafe Login. Please contact kefu@188.com for "
			"help\r\n",
			tag);
		c->selected = NULL;
		return;
	}
	if (!b || b->noselect) {
		imapd_say(c, "%s NO [NONEXISTENT] no such mailbox\r\n", tag);
		c->selected = NULL;
		return;
	}
	for (c->shown = 0; c->shown < b->n && stored_seen(&b->m[c->shown]); c->shown++)
		;
	tell_selected(c);
	imapd_say(c, "%s OK [%s] done\r\n", tag,
		readonly || a->readonly || b->readonly ? "READ-ONLY" : "READ-WRITE");
}

static void do_select(struct session *c, const char *tag, const char *args)
{
	open_box(c, tag, args, false);
}

static void do_examine(struct session *c, const char *tag, const char *args)
{
	open_box(c, tag, args, true);
}

static void do_quota(struct session *c, const char *tag, const char *args)
{
	const struct acts *a = &c->s->acts;

	(void)args;
	if (!imapd_can(c, "QUOTA")) {
		imapd_say(c, "%s BAD what is that?\r\n", tag);
		return;
	}
	imapd_say(c,
		"* QUOTAROOT INBOX \"\"\r\n* QUOTA \"\" (STORAGE %u %u)\r\n"
		"%s OK done\r\n",
		a->quota_used, a->quota_kib, tag);
}

/* ---- messages ---- */

/* The bytes of the text that are sent: fewer is all of this connection. */
static size_t cut_here(struct session *c, const struct stored *m)
{
	struct acts *a = &c->s->acts;
	size_t at = a->cut.at;

	if (!a->cut.times || m->n <= at)
		return m->n;
	a->cut.at += a->cut.step;
	if (a->cut.times != UINT_MAX)
		a->cut.times--;
	return at;
}

static void fetch_one(
	struct session *c, size_t i, const struct stored *m, const char *items)
{
	const char *end = memmem(m->text, m->n, "\r\n\r\n", 4);
	size_t head = end ? (size_t)(end - m->text) + 4 : m->n, sent;

	if (!end && (end = memmem(m->text, m->n, "\n\n", 2)) != NULL)
		head = (size_t)(end - m->text) + 2;
	if (c->s->acts.fetch_headless || (m->n && m->text[0] == '\r'))
		head = 2; /* it has none */

	imapd_say(c, "* %zu FETCH (UID %u RFC822.SIZE %zu", i + 1, m->uid, m->n);
	if (strstr(items, "BODY.PEEK[]")) {
		c->s->fetches++;
		imapd_say(c, " BODY[] {%zu}\r\n", m->n);
		sent = cut_here(c, m);
		imapd_send(c, m->text, sent);
		if (sent < m->n) {
			imapd_end(c, END_LOST, NULL);
			return;
		}
	} else if (strstr(items, "HEADER.FIELDS")) {
		imapd_say(c, " BODY[HEADER.FIELDS (FROM)] {%zu}\r\n", head);
		imapd_send(c, head == 2 ? "\r\n" : m->text, head);
	}
	imapd_say(c, ")\r\n");
}

static unsigned long take_uid(const char **p, unsigned long star)
{
	unsigned long v = star;
	char *end;

	if (**p == '*') {
		++*p;
	} else {
		v = strtoul(*p, &end, 10);
		*p = end;
	}
	return v;
}

/* "3", "3:9,12", "3:*" or "*"; "9:*" is the last one even if it is 5 (quirk Q118). */
static bool in_set(const struct session *c, const char *set, unsigned uid)
{
	const struct box *b = c->selected;
	unsigned long star = c->shown ? b->m[c->shown - 1].uid : 0, from, to;

	for (;;) {
		from = to = take_uid(&set, star);
		if (*set == ':') {
			set++;
			to = take_uid(&set, star);
		}
		if ((uid >= from && uid <= to) || (uid >= to && uid <= from))
			return true;
		if (*set != ',')
			return false;
		set++;
	}
}

static bool asked_for(const struct session *c, size_t i, const char *set)
{
	const struct stored *m = &c->selected->m[i];

	if (c->s->acts.visible_reselect && i >= c->shown)
		return false;
	return stored_seen(m) && i >= hidden(c) && in_set(c, set, m->uid);
}

static void do_fetch(struct session *c, const char *tag, const char *args)
{
	const struct acts *a = &c->s->acts;
	size_t n = c->selected ? c->selected->n : 0, i, all = 0, at = 0, first = 0;
	unsigned lowest = 0;

	for (i = 0; i < n; i++)
		all += asked_for(c, i, args);
	if (a->fetch_trunc && all > a->fetch_trunc)
		first = a->fetch_quiet ? 0 : all - a->fetch_trunc;
	for (i = 0; i < n && !c->ended; i++) {
		if (!asked_for(c, i, args))
			continue;
		if (at >= first && (!a->fetch_trunc || at < first + a->fetch_trunc)) {
			lowest = lowest ? lowest : c->selected->m[i].uid;
			fetch_one(c, i, &c->selected->m[i], args);
		}
		at++;
	}
	if (c->ended)
		return;
	if (first)
		imapd_say(c, "%s OK [MESSAGELIMIT %u %u] done\r\n", tag, a->fetch_trunc,
			lowest);
	else
		imapd_say(c, "%s OK done\r\n", tag);
}

static void do_search(struct session *c, const char *tag, const char *args)
{
	size_t i;

	(void)args;
	imapd_say(c, "* SEARCH");
	for (i = 0; c->selected && !c->s->acts.search_lies && i < c->shown; i++)
		imapd_say(c, " %u", c->selected->m[i].uid);
	imapd_say(c, "\r\n%s OK done\r\n", tag);
}

static void do_compress(struct session *c, const char *tag, const char *args)
{
	bool can = imapd_can(c, "COMPRESS=DEFLATE") && text_same(args, "DEFLATE");

	imapd_say(c, "%s %s\r\n", tag,
		!can             ? "BAD what is that?"
			: c->zip ? "NO [COMPRESSIONACTIVE] it is so"
				 : "OK from here on");
	if (can && !c->zip)
		imapd_deflate(c);
}

static void do_uid(struct session *c, const char *tag, const char *args)
{
	if (text_starts(args, "FETCH "))
		do_fetch(c, tag, args + strlen("FETCH "));
	else if (text_starts(args, "SEARCH "))
		do_search(c, tag, args);
	else
		imapd_say(c, "%s BAD what is that?\r\n", tag);
}

static const struct {
	const char *name;
	void (*run)(struct session *c, const char *tag, const char *args);
} commands[] = {
	{ "CAPABILITY", do_capability },
	{ "LOGIN", do_login },
	{ "AUTHENTICATE", do_authenticate },
	{ "ID", do_id },
	{ "NAMESPACE", do_namespace },
	{ "LIST", do_list },
	{ "XLIST", do_xlist },
	{ "CREATE", do_create },
	/* For letters: the program does not know it, and so sends them ahead. */
	{ "PLANT", do_create },
	{ "SUBSCRIBE", do_subscribe },
	{ "STATUS", do_status },
	{ "SELECT", do_select },
	{ "EXAMINE", do_examine },
	{ "GETQUOTAROOT", do_quota },
	{ "UID", do_uid },
	{ "COMPRESS", do_compress },
	{ "NOOP", do_nothing },
	{ "LOGOUT", do_logout },
};

bool command_run(struct session *c, const char *name, const char *tag, const char *args)
{
	size_t i;

	for (i = 0; i < N_ELEMENTS(commands); i++)
		if (text_same(name, commands[i].name))
			break;
	if (i == N_ELEMENTS(commands))
		return false;
	commands[i].run(c, tag, args);
	return true;
}
