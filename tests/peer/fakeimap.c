/* fakeimap.c: the IMAP server of the engine's tests. */
#include "fakeimap.h"

#include "loop.h"

#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BOXES = 20, MESSAGES_MAX = 2000, LINE = 4096, IN_MAX = 64 * 1024, GROUP = 300 };

struct stored {
	unsigned uid;
	int64_t from_ms; /* seen from then on */
	char *text;
	size_t n;
};

struct box {
	char name[200];
	unsigned uidvalidity, uidnext;
	struct stored m[MESSAGES_MAX];
	size_t n;
};

struct fakeimap {
	struct loop *loop;
	pthread_mutex_t lock; /* of all below */
	struct fakeimap_ways ways;
	struct box *boxes[BOXES];
	size_t n_boxes;
	unsigned dropped, skipped, changes, fetches, logins;
};

struct session {
	struct fakeimap *s;
	int fd;
	struct fakeimap_ways ways;
	struct box *selected;
	unsigned stored;
	bool ended;
	char in[IN_MAX];
	size_t in_n, in_at;
};

/* ---- the wire ---- */

static bool get(struct session *c, char *out)
{
	ssize_t n;

	if (c->in_at == c->in_n) {
		n = recv(c->fd, c->in, sizeof(c->in), 0);
		if (n <= 0)
			return false;
		c->in_n = (size_t)n;
		c->in_at = 0;
	}
	*out = c->in[c->in_at++];
	return true;
}

/* A line without its end. */
static bool hear(struct session *c, char *line)
{
	size_t n = 0;
	char one;

	while (n + 1 < LINE && get(c, &one)) {
		if (one == '\n') {
			line[n && line[n - 1] == '\r' ? n - 1 : n] = '\0';
			return true;
		}
		line[n++] = one;
	}
	return false;
}

static void __attribute__((format(printf, 2, 3)))
say(struct session *c, const char *fmt, ...)
{
	char *text;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		abort();
	loop_send(c->fd, text, (size_t)n);
	free(text);
}

/* An astring at *p: to out, *p behind it. */
static void word(const char **p, char *out, size_t cap)
{
	size_t n = 0;
	bool quoted;

	while (**p == ' ')
		++*p;
	quoted = **p == '"';
	*p += quoted;
	while (**p && **p != (quoted ? '"' : ' ')) {
		if (quoted && **p == '\\')
			++*p;
		if (n + 1 < cap)
			out[n++] = **p;
		++*p;
	}
	*p += quoted && **p == '"';
	out[n] = '\0';
}

/* ---- mailboxes ---- */

static struct box *find(struct fakeimap *s, const char *name, bool make)
{
	struct box *b;
	size_t i;

	for (i = 0; i < s->n_boxes; i++)
		if (strcmp(s->boxes[i]->name, name) == 0 ||
			(text_same(name, "INBOX") &&
				text_same(s->boxes[i]->name, name)))
			return s->boxes[i];
	if (!make)
		return NULL;
	if (s->n_boxes == BOXES)
		abort();
	b = s->boxes[s->n_boxes++] = xcalloc(1, sizeof(*b));
	snprintf(b->name, sizeof(b->name), "%s", name);
	b->uidvalidity = 7;
	b->uidnext = 1;
	return b;
}

static unsigned keep(struct box *b, const char *text, size_t n, int64_t from_ms)
{
	struct stored *m = &b->m[b->n++];

	if (b->n > MESSAGES_MAX)
		abort();
	*m = (struct stored){ b->uidnext++, from_ms, xmemdup0(text, n), n };
	return m->uid;
}

static bool seen(const struct stored *m)
{
	return m->from_ms <= clock_ms();
}

static unsigned total(const struct fakeimap *s)
{
	unsigned n = 0;
	size_t i;

	for (i = 0; i < s->n_boxes; i++)
		n += (unsigned)s->boxes[i]->n;
	return n;
}

/* ---- APPEND ---- */

struct group {
	char *text[GROUP];
	size_t size[GROUP], n;
};

static bool any(const struct group *g, const char *text)
{
	size_t i;

	for (i = 0; text && i < g->n; i++)
		if (strstr(g->text[i], text))
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
	text[0] = '\0';
	for (k = 0; k < size; k++) {
		if (!get(c, &text[k]))
			return false;
		text[k + 1] = '\0';
	}
	return true;
}

/* The messages of one command. False: it is over, one way or another. */
static bool gather(struct session *c, const char *tag, const char *args,
	struct group *g, char *line)
{
	const char *brace;

	while ((brace = strrchr(args, '{'))) {
		size_t size = strtoul(brace + 1, NULL, 10);

		if (c->ways.refuse_dates && strchr(args, '"')) {
			say(c, "%s BAD Invalid date\r\n", tag);
			return false;
		}
		if (!strchr(brace, '+'))
			say(c, "+ OK\r\n");
		if (!take_literal(c, g, size) || !hear(c, line)) {
			c->ended = true;
			return false;
		}
		args = line;
	}
	return true;
}

static unsigned store(struct session *c, struct box *b, const struct group *g)
{
	int64_t from = c->ways.commit == COMMIT_LATE && any(g, c->ways.drop)
		? clock_ms() + c->ways.late_ms
		: 0;
	unsigned first = b->uidnext;
	size_t i;

	for (i = 0; i < g->n; i++)
		keep(b, g->text[i], g->size[i], from);
	c->s->changes++;
	c->stored += (unsigned)g->n;
	return first;
}

static void judge(struct session *c, const char *tag, const char *name, struct group *g)
{
	struct fakeimap *s = c->s;
	const struct fakeimap_ways *w = &c->ways;
	struct box *b = find(s, name, false);
	unsigned uid;

	if (!b) {
		say(c, "%s NO [TRYCREATE] no such mailbox\r\n", tag);
	} else if (any(g, w->drop) && s->skipped++ >= w->drop_skip &&
		(!w->drop_times || s->dropped < w->drop_times)) {
		s->dropped++;
		if (w->commit != COMMIT_NO)
			store(c, b, g);
		c->ended = true;
	} else if ((w->bye_after && c->stored + g->n > w->bye_after) ||
		(w->ill_after && total(s) >= w->ill_after) ||
		(w->down_after && total(s) >= w->down_after)) {
		say(c, "* BYE enough for now\r\n");
		c->ended = true;
	} else if (any(g, w->refuse)) {
		say(c, "%s %s\r\n", tag, w->refusal);
	} else if (w->quota && total(s) + g->n > w->quota) {
		say(c, "%s NO [OVERQUOTA] no room left\r\n", tag);
	} else {
		uid = store(c, b, g);
		if (w->same_uid)
			say(c, "%s OK [APPENDUID %u 1] done\r\n", tag, b->uidvalidity);
		else if (w->capabilities && !strstr(w->capabilities, "UIDPLUS"))
			say(c, "%s OK done\r\n", tag);
		else if (g->n == 1)
			say(c, "%s OK [APPENDUID %u %u] done\r\n", tag, b->uidvalidity,
				uid);
		else
			say(c, "%s OK [APPENDUID %u %u:%u] done\r\n", tag,
				b->uidvalidity, uid, b->uidnext - 1);
	}
}

static void append(struct session *c, const char *tag, const char *args)
{
	struct group *g = xcalloc(1, sizeof(*g));
	char name[200], line[LINE];
	size_t i;

	word(&args, name, sizeof(name));
	if (gather(c, tag, args, g, line)) {
		while (any(g, c->ways.hang) && hear(c, line))
			;
		pthread_mutex_lock(&c->s->lock);
		judge(c, tag, name, g);
		pthread_mutex_unlock(&c->s->lock);
	}
	for (i = 0; i < g->n; i++)
		free(g->text[i]);
	free(g);
}

/* ---- the other commands ---- */

static void do_capability(struct session *c, const char *tag, const char *args)
{
	(void)args;
	say(c, "* CAPABILITY IMAP4rev1 %s\r\n%s OK done\r\n",
		c->ways.capabilities ? c->ways.capabilities
				     : "UIDPLUS LITERAL+ MULTIAPPEND",
		tag);
}

static void do_list(struct session *c, const char *tag, const char *args)
{
	char name[200];
	const struct box *b;

	word(&args, name, sizeof(name));
	word(&args, name, sizeof(name));
	b = find(c->s, name, false);
	if (!*name)
		say(c, "* LIST (\\Noselect) \"/\" \"\"\r\n");
	else if (b)
		say(c, "* LIST () \"/\" \"%s\"\r\n", b->name);
	say(c, "%s OK done\r\n", tag);
}

static void do_create(struct session *c, const char *tag, const char *args)
{
	char name[200];

	word(&args, name, sizeof(name));
	find(c->s, name, true);
	c->s->changes++;
	say(c, "%s OK done\r\n", tag);
}

static void do_select(struct session *c, const char *tag, const char *args)
{
	char name[200];
	size_t i;

	word(&args, name, sizeof(name));
	c->selected = find(c->s, name, false);
	if (!c->selected) {
		say(c, "%s NO [NONEXISTENT] no such mailbox\r\n", tag);
		return;
	}
	for (i = 0; i < c->selected->n && seen(&c->selected->m[i]); i++)
		;
	say(c,
		"* FLAGS (\\Seen \\Answered \\Flagged \\Draft)\r\n* %zu EXISTS\r\n"
		"* 0 RECENT\r\n* OK [UIDVALIDITY %u] ok\r\n* OK [UIDNEXT %u] ok\r\n"
		"%s OK [READ-WRITE] done\r\n",
		i, c->selected->uidvalidity,
		i ? c->selected->m[i - 1].uid + 1
		  : c->selected->uidnext - (unsigned)c->selected->n,
		tag);
}

static void fetch_one(
	struct session *c, size_t i, const struct stored *m, const char *items)
{
	const char *end = strstr(m->text, "\r\n\r\n");
	size_t head = end ? (size_t)(end - m->text) + 4 : m->n;

	if (m->text[0] == '\r')
		head = 2; /* it has none */

	say(c, "* %zu FETCH (UID %u RFC822.SIZE %zu", i + 1, m->uid, m->n);
	if (strstr(items, "BODY.PEEK[]")) {
		c->s->fetches++;
		say(c, " BODY[] {%zu}\r\n", m->n);
		loop_send(c->fd, m->text, m->n);
	} else if (strstr(items, "HEADER.FIELDS")) {
		say(c, " BODY[HEADER.FIELDS (FROM)] {%zu}\r\n", head);
		loop_send(c->fd, m->text, head);
	}
	say(c, ")\r\n");
}

static void do_uid(struct session *c, const char *tag, const char *args)
{
	unsigned long from, to;
	char *end;
	size_t i;

	from = strtoul(args + strlen("FETCH "), &end, 10);
	to = *end == ':' ? strtoul(end + 1, &end, 10) : from;
	for (i = 0; c->selected && i < c->selected->n; i++) {
		const struct stored *m = &c->selected->m[i];

		if (m->uid >= from && m->uid <= to && seen(m))
			fetch_one(c, i, m, end);
	}
	say(c, "%s OK done\r\n", tag);
}

static void do_logout(struct session *c, const char *tag, const char *args)
{
	(void)args;
	say(c, "* BYE\r\n%s OK done\r\n", tag);
	c->ended = true;
}

static void do_login(struct session *c, const char *tag, const char *args)
{
	(void)args;
	c->s->logins++;
	say(c, "%s OK done\r\n", tag);
}

static void do_nothing(struct session *c, const char *tag, const char *args)
{
	(void)args;
	say(c, "%s OK done\r\n", tag);
}

static const struct {
	const char *name;
	void (*run)(struct session *c, const char *tag, const char *args);
} commands[] = {
	{ "CAPABILITY", do_capability },
	{ "LOGIN", do_login },
	{ "LIST", do_list },
	{ "CREATE", do_create },
	{ "SUBSCRIBE", do_nothing },
	{ "SELECT", do_select },
	{ "UID", do_uid },
	{ "NOOP", do_nothing },
	{ "LOGOUT", do_logout },
};

static void answer(struct session *c, const char *line)
{
	char tag[200], name[200];
	size_t i;

	word(&line, tag, sizeof(tag));
	word(&line, name, sizeof(name));
	while (*line == ' ')
		line++;
	if (text_same(name, "APPEND")) {
		append(c, tag, line);
		return;
	}
	pthread_mutex_lock(&c->s->lock);
	for (i = 0; i < N_ELEMENTS(commands); i++)
		if (text_same(name, commands[i].name))
			break;
	if (i < N_ELEMENTS(commands))
		commands[i].run(c, tag, line);
	else
		say(c, "%s BAD what is that?\r\n", *tag ? tag : "*");
	pthread_mutex_unlock(&c->s->lock);
}

static void serve(int fd, void *ctx)
{
	struct session *c = xcalloc(1, sizeof(*c));
	char line[LINE];
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->s = ctx;
	c->fd = fd;
	pthread_mutex_lock(&c->s->lock);
	c->ways = c->s->ways;
	c->ways.down |= c->ways.down_after && total(c->s) >= c->ways.down_after;
	pthread_mutex_unlock(&c->s->lock);
	say(c, c->ways.down ? "* BYE down\r\n" : "* OK fake\r\n");
	while (!c->ways.down && !c->ended && hear(c, line))
		answer(c, line);
	free(c);
}

/* ---- for the test ---- */

void fakeimap_open(struct fakeimap **out)
{
	struct fakeimap *s = xcalloc(1, sizeof(*s));

	pthread_mutex_init(&s->lock, NULL);
	find(s, "INBOX", true);
	loop_open(&s->loop, serve, s);
	*out = s;
}

void fakeimap_empty(struct fakeimap *s)
{
	size_t i, k;

	pthread_mutex_lock(&s->lock);
	for (i = 0; i < s->n_boxes; i++) {
		for (k = 0; k < s->boxes[i]->n; k++)
			free(s->boxes[i]->m[k].text);
		s->boxes[i]->n = 0;
	}
	pthread_mutex_unlock(&s->lock);
}

void fakeimap_forget(struct fakeimap *s)
{
	size_t i;

	fakeimap_empty(s);
	pthread_mutex_lock(&s->lock);
	for (i = 0; i < s->n_boxes; i++)
		s->boxes[i]->uidnext = 1;
	pthread_mutex_unlock(&s->lock);
}

void fakeimap_close(struct fakeimap **sp)
{
	struct fakeimap *s = *sp;
	size_t i;

	if (!s)
		return;
	loop_close(&s->loop);
	fakeimap_empty(s);
	for (i = 0; i < s->n_boxes; i++)
		free(s->boxes[i]);
	pthread_mutex_destroy(&s->lock);
	free(s);
	*sp = NULL;
}

unsigned fakeimap_port(const struct fakeimap *s)
{
	return loop_port(s->loop);
}

void fakeimap_behave(struct fakeimap *s, const struct fakeimap_ways *ways)
{
	pthread_mutex_lock(&s->lock);
	s->ways = *ways;
	s->dropped = s->skipped = 0;
	pthread_mutex_unlock(&s->lock);
}

void fakeimap_put(struct fakeimap *s, const char *box, const char *text)
{
	pthread_mutex_lock(&s->lock);
	keep(find(s, box, true), text, strlen(text), 0);
	pthread_mutex_unlock(&s->lock);
}

void fakeimap_renumber(struct fakeimap *s)
{
	size_t i, k;

	pthread_mutex_lock(&s->lock);
	for (i = 0; i < s->n_boxes; i++) {
		struct box *b = s->boxes[i];

		b->uidvalidity++;
		b->uidnext = 1;
		for (k = 0; k < b->n; k++)
			b->m[k].uid = b->uidnext++;
	}
	pthread_mutex_unlock(&s->lock);
}

unsigned fakeimap_copies(struct fakeimap *s, const char *text)
{
	unsigned n = 0;
	size_t i, k;

	pthread_mutex_lock(&s->lock);
	for (i = 0; i < s->n_boxes; i++)
		for (k = 0; k < s->boxes[i]->n; k++)
			n += !text || strcmp(s->boxes[i]->m[k].text, text) == 0;
	pthread_mutex_unlock(&s->lock);
	return n;
}

unsigned fakeimap_in(struct fakeimap *s, const char *box)
{
	const struct box *b;
	unsigned n;

	pthread_mutex_lock(&s->lock);
	b = find(s, box, false);
	n = b ? (unsigned)b->n : 0;
	pthread_mutex_unlock(&s->lock);
	return n;
}

bool fakeimap_has(struct fakeimap *s, const char *box)
{
	bool there;

	pthread_mutex_lock(&s->lock);
	there = find(s, box, false);
	pthread_mutex_unlock(&s->lock);
	return there;
}

static unsigned number(struct fakeimap *s, const unsigned *which)
{
	unsigned n;

	pthread_mutex_lock(&s->lock);
	n = *which;
	pthread_mutex_unlock(&s->lock);
	return n;
}

unsigned fakeimap_changes(struct fakeimap *s)
{
	return number(s, &s->changes);
}

unsigned fakeimap_fetches(struct fakeimap *s)
{
	return number(s, &s->fetches);
}

unsigned fakeimap_logins(struct fakeimap *s)
{
	return number(s, &s->logins);
}
