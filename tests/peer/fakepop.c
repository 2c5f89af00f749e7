/* fakepop.c: the POP3 server of the engine's tests. */
#include "fakepop.h"

#include "loop.h"

#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <poll.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { MAIL_MAX = 2000, LINE = 512, COMMANDS = 8 };

struct mail {
	char uidl[40];
	const char *text;
};

struct fakepop {
	struct loop *loop;
	pthread_mutex_t lock; /* of all below */
	struct fakepop_ways ways;
	struct mail mail[MAIL_MAX];
	size_t n;
	char prefix[8];
	unsigned sessions;
	unsigned counts[COMMANDS];
};

static const char *const commands[COMMANDS] = { "CAPA", "USER", "PASS", "LIST", "UIDL",
	"RETR", "NOOP", "QUIT" };

struct session {
	struct fakepop *p;
	int fd;
	struct fakepop_ways ways;
	struct mail mail[MAIL_MAX]; /* as it was at the login */
	size_t n;
	char prefix[8];
	unsigned retrs;
	bool ended;
};

static bool holds(const struct mail *m, const char *text)
{
	return text && strstr(m->text, text);
}

static void begin(struct session *s)
{
	struct fakepop *p = s->p;
	size_t i;

	pthread_mutex_lock(&p->lock);
	s->ways = p->ways;
	memcpy(s->prefix, p->prefix, sizeof(s->prefix));
	for (i = 0; i < p->n; i++)
		if (!p->sessions || !holds(&p->mail[i], p->ways.vanish))
			s->mail[s->n++] = p->mail[i];
	p->sessions++;
	pthread_mutex_unlock(&p->lock);
}

static void count(struct fakepop *p, const char *line)
{
	size_t i;

	pthread_mutex_lock(&p->lock);
	for (i = 0; i < COMMANDS; i++)
		p->counts[i] += text_starts(line, commands[i]);
	pthread_mutex_unlock(&p->lock);
}

static void rows(struct session *s, bool uidl)
{
	struct buf b = BUF_INIT(SIZE_MAX / 2);
	size_t i;

	buf_adds(&b, "+OK\r\n");
	for (i = 0; i < s->n; i++) {
		if (uidl)
			buf_addf(&b, "%zu %s%s\r\n", i + 1, s->prefix, s->mail[i].uidl);
		else
			buf_addf(&b, "%zu %zu\r\n", i + 1, strlen(s->mail[i].text));
	}
	buf_adds(&b, ".\r\n");
	loop_send(s->fd, b.p, b.n);
	buf_free(&b);
}

static void send_mail(struct session *s, const struct mail *m, bool half)
{
	struct buf b = BUF_INIT(SIZE_MAX / 2);
	const char *p = m->text, *lf;

	buf_adds(&b, "+OK\r\n");
	while ((lf = strchr(p, '\n'))) {
		if (*p == '.')
			buf_addc(&b, '.');
		buf_add(&b, p, (size_t)(lf + 1 - p));
		p = lf + 1;
	}
	buf_adds(&b, ".\r\n");
	loop_send(s->fd, b.p, half ? b.n / 2 : b.n);
	buf_free(&b);
}

/* Until the client goes away. */
static void hang(struct session *s)
{
	char waste[4096];

	while (recv(s->fd, waste, sizeof(waste), 0) > 0)
		;
	s->ended = true;
}

static bool more_is_here(const struct session *s)
{
	struct pollfd p = { s->fd, POLLIN, 0 };

	return poll(&p, 1, 20) == 1;
}

static void retr(struct session *s, const char *line)
{
	unsigned long n = strtoul(line + 4, NULL, 10);
	const struct mail *m = n && n <= s->n ? &s->mail[n - 1] : NULL;

	if (s->ways.hates_ahead && more_is_here(s)) {
		s->ended = true;
		return;
	}
	if (s->ways.drop_after && s->retrs++ == s->ways.drop_after) {
		s->ended = true;
		return;
	}
	if (!m || holds(m, s->ways.refuse)) {
		loop_say(s->fd, "-ERR cannot read this message\r\n");
		return;
	}
	if (holds(m, s->ways.hang)) {
		hang(s);
		return;
	}
	send_mail(s, m, holds(m, s->ways.poison));
	s->ended = holds(m, s->ways.poison);
}

static void capa(struct session *s)
{
	const struct fakepop_ways *w = &s->ways;

	loop_say(s->fd, "+OK\r\nUSER\r\n");
	if (!w->no_uidl)
		loop_say(s->fd, "UIDL\r\n");
	if (w->pipelining || w->lies || w->hates_ahead)
		loop_say(s->fd, "PIPELINING\r\n");
	loop_say(s->fd, ".\r\n");
}

static void answer(struct session *s, const char *line)
{
	if (text_starts(line, "CAPA"))
		capa(s);
	else if (text_starts(line, "UIDL") && s->ways.no_uidl)
		loop_say(s->fd, "-ERR unknown command\r\n");
	else if (text_starts(line, "UIDL") || text_starts(line, "LIST"))
		rows(s, *line == 'U');
	else if (text_starts(line, "RETR"))
		retr(s, line);
	else
		loop_say(s->fd, "+OK\r\n");
	s->ended |= text_starts(line, "QUIT");
}

static void serve(int fd, void *ctx)
{
	struct session *s = xcalloc(1, sizeof(*s));
	char line[LINE];
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	s->p = ctx;
	s->fd = fd;
	begin(s);
	loop_say(fd, "+OK fake\r\n");
	while (!s->ended && loop_hear(fd, line, sizeof(line))) {
		count(s->p, line);
		if (s->ways.lies && more_is_here(s))
			s->ended = true;
		answer(s, line);
	}
	free(s);
}

/* ---- for the test ---- */

void fakepop_open(struct fakepop **out)
{
	struct fakepop *p = xcalloc(1, sizeof(*p));

	pthread_mutex_init(&p->lock, NULL);
	loop_open(&p->loop, serve, p);
	*out = p;
}

void fakepop_close(struct fakepop **pp)
{
	struct fakepop *p = *pp;

	if (!p)
		return;
	loop_close(&p->loop);
	pthread_mutex_destroy(&p->lock);
	free(p);
	*pp = NULL;
}

unsigned fakepop_port(const struct fakepop *p)
{
	return loop_port(p->loop);
}

void fakepop_behave(struct fakepop *p, const struct fakepop_ways *ways)
{
	pthread_mutex_lock(&p->lock);
	p->ways = *ways;
	p->sessions = 0;
	pthread_mutex_unlock(&p->lock);
}

void fakepop_add(struct fakepop *p, const char *uidl, const char *text)
{
	struct mail *m;

	pthread_mutex_lock(&p->lock);
	if (p->n == MAIL_MAX)
		abort();
	m = &p->mail[p->n++];
	m->text = text;
	if (uidl)
		snprintf(m->uidl, sizeof(m->uidl), "%s", uidl);
	else
		snprintf(m->uidl, sizeof(m->uidl), "u%zu", p->n);
	pthread_mutex_unlock(&p->lock);
}

void fakepop_empty(struct fakepop *p)
{
	pthread_mutex_lock(&p->lock);
	p->n = 0;
	pthread_mutex_unlock(&p->lock);
}

void fakepop_prefix(struct fakepop *p, const char *prefix)
{
	pthread_mutex_lock(&p->lock);
	snprintf(p->prefix, sizeof(p->prefix), "%s", prefix);
	pthread_mutex_unlock(&p->lock);
}

unsigned fakepop_count(struct fakepop *p, const char *command)
{
	unsigned n = 0;
	size_t i;

	pthread_mutex_lock(&p->lock);
	for (i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i], command) == 0)
			n = p->counts[i];
	pthread_mutex_unlock(&p->lock);
	return n;
}
