/* fakeimap.c: the IMAP server of the engine's tests: its wire, and what tests ask. */
#include "fakeimap_p.h"
#include "loop.h"
#include "scene.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

enum { IDLE_TRIES = 5000, IDLE_US = 1000 };

/* ---- COMPRESS ---- */

struct zipped {
	z_stream in, out;
	char got[IN_MAX];
};

void imapd_deflate(struct session *c)
{
	struct zipped *z = xcalloc(1, sizeof(*z));

	if (inflateInit2(&z->in, -15) != Z_OK ||
		deflateInit2(&z->out, 1, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) !=
			Z_OK)
		abort();
	z->in.avail_in = (uInt)(c->in_n - c->in_at);
	memcpy(z->got, c->in + c->in_at, z->in.avail_in);
	z->in.next_in = (Bytef *)z->got;
	c->in_n = c->in_at = 0;
	c->zip = z;
}

static void zipped_free(struct zipped *z)
{
	if (!z)
		return;
	inflateEnd(&z->in);
	deflateEnd(&z->out);
	free(z);
}

static ssize_t receive(struct session *c)
{
	struct zipped *z = c->zip;
	ssize_t n;

	if (!z)
		return recv(c->fd, c->in, sizeof(c->in), 0);
	z->in.next_out = (Bytef *)c->in;
	z->in.avail_out = sizeof(c->in);
	while (z->in.avail_out == sizeof(c->in)) {
		if (!z->in.avail_in) {
			n = recv(c->fd, z->got, sizeof(z->got), 0);
			if (n <= 0)
				return n;
			z->in.next_in = (Bytef *)z->got;
			z->in.avail_in = (uInt)n;
		}
		if (inflate(&z->in, Z_SYNC_FLUSH) != Z_OK)
			return -1;
	}
	return (ssize_t)(sizeof(c->in) - z->in.avail_out);
}

static bool send_zipped(struct session *c, const char *p, size_t n)
{
	struct zipped *z = c->zip;
	char out[4096];
	size_t k;

	z->out.next_in = (Bytef *)p;
	z->out.avail_in = (uInt)n;
	do {
		z->out.next_out = (Bytef *)out;
		z->out.avail_out = sizeof(out);
		deflate(&z->out, Z_SYNC_FLUSH);
		k = sizeof(out) - z->out.avail_out;
		if (k && !loop_send(c->fd, out, k))
			return false;
	} while (z->out.avail_out == 0);
	return true;
}

/* ---- the wire ---- */

bool imapd_get(struct session *c, char *out)
{
	ssize_t n;

	if (c->cut_at && c->bytes >= c->cut_at) {
		c->cut = true;
		return false;
	}
	if (c->in_at == c->in_n) {
		pthread_mutex_unlock(&c->s->lock);
		n = receive(c);
		pthread_mutex_lock(&c->s->lock);
		if (n <= 0)
			return false;
		c->in_n = (size_t)n;
		c->in_at = 0;
	}
	*out = c->in[c->in_at++];
	c->bytes++;
	return true;
}

bool imapd_hear(struct session *c, char *line)
{
	size_t n = 0;
	char one;

	while (n + 1 < LINE && imapd_get(c, &one)) {
		if (one == '\n') {
			line[n && line[n - 1] == '\r' ? n - 1 : n] = '\0';
			return true;
		}
		line[n++] = one;
	}
	return false;
}

void imapd_send(struct session *c, const char *p, size_t n)
{
	size_t step = c->s->acts.slow ? c->s->acts.slow : n, k;

	for (; n; n -= k, p += k) {
		k = n < step ? n : step;
		if (!(c->zip ? send_zipped(c, p, k) : loop_send(c->fd, p, k)))
			return;
	}
}

void imapd_say(struct session *c, const char *fmt, ...)
{
	char *text;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		abort();
	imapd_send(c, text, (size_t)n);
	free(text);
}

void imapd_end(struct session *c, enum ending how, const char *bye)
{
	struct linger at_once = { 1, 0 };
	char waste[512];

	c->ended = true;
	switch (how) {
	case END_RST:
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		break;
	case END_BYE:
		imapd_say(c, "* BYE %s\r\n", bye ? bye : "enough");
		break;
	case END_HANG:
		pthread_mutex_unlock(&c->s->lock);
		while (recv(c->fd, waste, sizeof(waste), 0) > 0)
			;
		pthread_mutex_lock(&c->s->lock);
		break;
	case END_OK:
	case END_LOST:
	case END_DROP:
		break;
	}
}

void imapd_word(const char **p, char *out, size_t cap)
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

/* ---- capabilities ---- */

const char *imapd_capa(const struct session *c)
{
	const char *said = c->s->acts.capa[c->logged_in];

	if (said)
		return said;
	return c->ways.capabilities ? c->ways.capabilities
				    : "UIDPLUS LITERAL+ MULTIAPPEND";
}

bool imapd_can(const struct session *c, const char *capability)
{
	const char *p = imapd_capa(c);
	size_t n = strlen(capability);

	for (; *p; p += strcspn(p, " "), p += *p == ' ')
		if (strcspn(p, " ") == n && memcmp(p, capability, n) == 0)
			return true;
	return false;
}

/* ---- a session ---- */

/* False: the rule has the answer, too. */
static bool ruled(struct session *c, const struct rule *r)
{
	if (r->untagged)
		imapd_say(c, "%s\r\n", r->untagged);
	return !r->tagged && r->end == END_OK;
}

/* What a CREATE that is answered by a rule does all the same. */
static void create_quietly(struct session *c, const char *args)
{
	char name[NAME];

	imapd_word(&args, name, sizeof(name));
	box_find(c->s, name, true);
}

static void answer(struct session *c, const char *line)
{
	char tag[NAME], name[NAME];
	struct rule *r;

	buf_adds(&c->s->heard, line);
	buf_addc(&c->s->heard, '\n');
	imapd_word(&line, tag, sizeof(tag));
	imapd_word(&line, name, sizeof(name));
	while (*line == ' ')
		line++;
	if (text_same(name, "APPEND")) {
		append_run(c, tag, line);
		return;
	}
	r = acts_rule(&c->s->acts, name, line);
	if (r && !ruled(c, r)) {
		if (text_same(name, "CREATE") && r->how == BY_RULE &&
			r->commit != COMMIT_NO)
			create_quietly(c, line);
		if (r->tagged)
			imapd_say(c, "%s %s\r\n", tag, r->tagged);
		else
			imapd_end(c, r->end, r->bye);
		return;
	}
	if (!command_run(c, name, tag, line))
		imapd_say(c, "%s BAD what is that?\r\n", *tag ? tag : "*");
}

static void greet(struct session *c)
{
	struct acts *a = &c->s->acts;

	if (c->ways.down) {
		imapd_end(c, END_BYE, "down");
	} else if (a->connections && c->s->sessions > a->connections) {
		c->ended = true;
		imapd_say(c, "* %s\r\n", a->crowded_text);
	} else if (a->greeting && a->greetings) {
		a->greetings -= a->greetings != UINT32_MAX;
		c->logged_in = text_starts(a->greeting, "PREAUTH");
		c->ended = text_starts(a->greeting, "BYE");
		imapd_say(c, "* %s\r\n", a->greeting);
	} else if (getenv("KIT_DOVECOT")) {
		imapd_say(c,
			"* OK [CAPABILITY IMAP4rev1 SASL-IR ID LITERAL+ AUTH=PLAIN] "
			"Dovecot ready.\r\n");
	} else {
		imapd_say(c, "* OK fake\r\n");
	}
}

static void serve(int fd, void *ctx)
{
	struct session *c = xcalloc(1, sizeof(*c));
	char *line = xmalloc(LINE);
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->s = ctx;
	c->fd = fd;
	pthread_mutex_lock(&c->s->lock);
	c->s->sessions++;
	c->ways = c->s->ways;
	c->ways.down |= c->ways.down_after && box_total(c->s) >= c->ways.down_after;
	if (c->s->acts.bump_reconnect)
		boxes_renumber(c->s);
	greet(c);
	while (!c->ended) {
		c->bytes = c->cut_at = 0;
		if (!imapd_hear(c, line))
			break;
		if (c->s->acts.linemax && c->bytes > c->s->acts.linemax)
			imapd_say(c, "* BAD line too long\r\n");
		else
			answer(c, line);
	}
	c->s->sessions--;
	pthread_mutex_unlock(&c->s->lock);
	zipped_free(c->zip);
	free(line);
	free(c);
}

/* ---- for the test ---- */

void fakeimap_open(struct fakeimap **out)
{
	struct fakeimap *s = xcalloc(1, sizeof(*s));

	pthread_mutex_init(&s->lock, NULL);
	buf_init(&s->heard, SIZE_MAX / 2);
	box_find(s, "INBOX", true);
	loop_open(&s->loop, serve, s);
	*out = s;
}

void fakeimap_empty(struct fakeimap *s)
{
	size_t i;

	pthread_mutex_lock(&s->lock);
	for (i = 0; i < s->n_boxes; i++)
		while (s->boxes[i]->n)
			box_drop(s->boxes[i], s->boxes[i]->n - 1);
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
	acts_release(&s->acts);
	buf_free(&s->heard);
	pthread_mutex_destroy(&s->lock);
	free(s);
	*sp = NULL;
}

unsigned fakeimap_port(const struct fakeimap *s)
{
	return loop_port(s->loop);
}

bool fakeimap_idle(struct fakeimap *s)
{
	bool idle = false;
	int i;

	for (i = 0; i < IDLE_TRIES && !idle; i++) {
		pthread_mutex_lock(&s->lock);
		idle = !s->sessions;
		pthread_mutex_unlock(&s->lock);
		if (!idle)
			usleep(IDLE_US);
	}
	return idle;
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
	box_keep(box_find(s, box, true), text, strlen(text), 0, MUTATE_NOT);
	pthread_mutex_unlock(&s->lock);
}

void fakeimap_renumber(struct fakeimap *s)
{
	pthread_mutex_lock(&s->lock);
	boxes_renumber(s);
	pthread_mutex_unlock(&s->lock);
}

/* ---- what is there ---- */

void fakeimap_each(struct fakeimap *s,
	void (*each)(void *ctx, const char *box, const char *text, size_t n), void *ctx)
{
	size_t i, k;

	pthread_mutex_lock(&s->lock);
	for (i = 0; i < s->n_boxes; i++)
		for (k = 0; k < s->boxes[i]->n; k++)
			each(ctx, s->boxes[i]->name, s->boxes[i]->m[k].sent,
				s->boxes[i]->m[k].sent_n);
	pthread_mutex_unlock(&s->lock);
}

struct counting {
	const char *box, *text;
	size_t len;
	unsigned n;
};

static void count(void *ctx, const char *box, const char *text, size_t n)
{
	struct counting *c = ctx;

	c->n += (!c->text || (n == c->len && memcmp(text, c->text, n) == 0)) &&
		(!c->box || text_same(box, c->box));
}

unsigned fakeimap_copies(struct fakeimap *s, const char *text)
{
	struct counting c = { NULL, text, text ? strlen(text) : 0, 0 };

	fakeimap_each(s, count, &c);
	return c.n;
}

unsigned fakeimap_in(struct fakeimap *s, const char *box)
{
	struct counting c = { .box = box };

	fakeimap_each(s, count, &c);
	return c.n;
}

bool fakeimap_has(struct fakeimap *s, const char *box)
{
	bool there;

	pthread_mutex_lock(&s->lock);
	there = box_find(s, box, false);
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

/* ---- what a case expects ---- */

static bool expect_box(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	return fakeimap_has(ctx, argv[0]) ||
		scene_bad(why, cap, "there is no mailbox \"%s\"", argv[0]);
}

static bool expect_no_box(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	return !fakeimap_has(ctx, argv[0]) ||
		scene_bad(why, cap, "there is a mailbox \"%s\"", argv[0]);
}

static bool expect_subscribed(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	struct fakeimap *s = ctx;
	const struct box *b;
	bool yes;

	(void)argc;
	pthread_mutex_lock(&s->lock);
	b = box_find(s, argv[0], false);
	yes = b && b->subscribed;
	pthread_mutex_unlock(&s->lock);
	return yes || scene_bad(why, cap, "\"%s\" is not subscribed", argv[0]);
}

static bool heard(struct fakeimap *s, const char *text)
{
	bool yes;

	pthread_mutex_lock(&s->lock);
	yes = strstr(buf_str(&s->heard), text);
	pthread_mutex_unlock(&s->lock);
	return yes;
}

static bool expect_said(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	return heard(ctx, argv[0]) ||
		scene_bad(why, cap, "no command has \"%s\"", argv[0]);
}

static bool expect_never(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	(void)argc;
	return !heard(ctx, argv[0]) ||
		scene_bad(why, cap, "a command has \"%s\"", argv[0]);
}

static bool expect_logins(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	return scene_compare("logins", fakeimap_logins(ctx), argc, argv, why, cap);
}

static bool expect_changes(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	return scene_compare("changes", fakeimap_changes(ctx), argc, argv, why, cap);
}

static bool expect_fetches(void *ctx, int argc, char **argv, char *why, size_t cap)
{
	return scene_compare("fetches", fakeimap_fetches(ctx), argc, argv, why, cap);
}

static const struct scene_verb expectations[] = {
	{ "box", 1, 1, expect_box },
	{ "no-box", 1, 1, expect_no_box },
	{ "subscribed", 1, 1, expect_subscribed },
	{ "said", 1, 1, expect_said },
	{ "never-said", 1, 1, expect_never },
	{ "logins", 1, 2, expect_logins },
	{ "changes", 1, 2, expect_changes },
	{ "fetches", 1, 2, expect_fetches },
};

bool fakeimap_expect(struct fakeimap *s, int argc, char **argv, char *why, size_t cap)
{
	return scene_say(
		expectations, N_ELEMENTS(expectations), s, argc, argv, why, cap);
}
