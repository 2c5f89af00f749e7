/* fakepop.c: the POP3 server of the tests: sessions and their commands. */
#include "fakepop_p.h"

#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

enum { LINE = 512, PEEK = 8192, OUT_MAX = 1024 * 1024 * 1024 };

const char *const pop_commands[POP_COMMANDS] = { "GREETING", "CAPA", "USER", "PASS",
	"STAT", "UIDL", "LIST", "RETR", "TOP", "DELE", "RSET", "NOOP", "QUIT", "LAST",
	"AUTH" };

/* ---- talking ---- */

/* Sends what has gathered, as far as the session's limit of bytes allows. */
static void flush(struct session *s)
{
	const unsigned most = s->ways.limit_bytes ? s->ways.limit : 0;
	size_t at = 0, n = s->out.n, k;

	if (most && s->sent + n > most) {
		n = most > s->sent ? most - s->sent : 0;
		s->ended = true;
	}
	s->sent += n;
	while (at < n) {
		k = s->ways.slow && s->ways.slow < n - at ? s->ways.slow : n - at;
		if (!loop_send(s->fd, s->out.p + at, k))
			break;
		at += k;
	}
	buf_clear(&s->out);
}

void pop_say(struct session *s, const char *text)
{
	if (!s->mute)
		buf_adds(&s->out, text);
}

static bool more_is_here(const struct session *s)
{
	struct pollfd p = { s->fd, POLLIN, 0 };

	return poll(&p, 1, 20) == 1;
}

void pop_hang(struct session *s)
{
	char waste[4096];

	flush(s);
	while (recv(s->fd, waste, sizeof(waste), 0) > 0)
		;
	s->ended = true;
}

void pop_blame(struct session *s, const char *what, const char *line)
{
	struct fakepop *p = s->p;

	pthread_mutex_lock(&p->lock);
	if (!*p->violation)
		snprintf(p->violation, sizeof(p->violation), "%s (%.*s)", what,
			(int)strcspn(line, "\r\n"), line);
	pthread_mutex_unlock(&p->lock);
}

/* Nothing is answered yet: what is here already was sent ahead. */
static void look_ahead(struct session *s, enum pop_command command, const char *line)
{
	static const char *const alone[] = { "QUIT", "DELE", "RSET" };
	char ahead[PEEK + 1], *p;
	ssize_t n = recv(s->fd, ahead, PEEK, MSG_PEEK | MSG_DONTWAIT);
	size_t i;

	if (n <= 0)
		return;
	ahead[n] = '\0';
	/* With nothing marked it changes what was seen, and no more. */
	if (s->p->dovecot && command == POP_RSET && text_starts(ahead, "QUIT"))
		return;
	if (command == POP_DELE || command == POP_RSET)
		pop_blame(s,
			"something sent behind a command that changes the maildrop",
			line);
	for (p = ahead; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
		for (i = 0; i < N_ELEMENTS(alone); i++)
			if (text_starts(p, alone[i]))
				pop_blame(s, "a command sent ahead of an answer", p);
}

/* ---- commands ---- */

/* The next rule for this command, from number *at on; a copy, for others may change. */
static bool next_rule(struct session *s, enum pop_command command, const char *line,
	size_t *at, struct rule *out)
{
	struct fakepop *p = s->p;
	const char *blank = strchr(line, ' ');
	unsigned long n = blank ? strtoul(blank, NULL, 10) : 0;
	const unsigned letter = n && n <= s->n ? s->places[n - 1].l->number : 0;
	bool found = false;

	pthread_mutex_lock(&p->lock);
	for (; *at < p->n_rules && !found; ++*at) {
		struct rule *r = &p->rules[*at];

		if (r->used_up || r->command != command ||
			(r->nth && r->nth != s->heard[command]) ||
			(r->letter && r->letter != letter))
			continue;
		found = true;
		*out = *r;
		r->used_up = r->left && !--r->left;
	}
	pthread_mutex_unlock(&p->lock);
	return found;
}

static void tell(struct session *s, enum fakepop_event what)
{
	if (s->p->tell)
		s->p->tell(s->p->tell_ctx, what);
}

/* True: that was all there is to do. */
static bool act(struct session *s, const struct rule *r)
{
	size_t n;

	switch (r->act) {
	case ACT_DELAY:
		flush(s);
		clock_sleep(r->ms);
		return false;
	case ACT_STOP:
		tell(s, FAKEPOP_STOP);
		return false;
	case ACT_KILL:
		tell(s, FAKEPOP_KILL);
		s->ended = true;
		break;
	case ACT_HANG:
		pop_hang(s);
		break;
	case ACT_DROP:
		s->ended = true;
		break;
	case ACT_REPLY:
		n = strlen(r->text);
		pop_say(s, r->text);
		if (!n || r->text[n - 1] != '\n')
			pop_say(s, "\r\n");
		break;
	case ACT_EXTRA:
		return false;
	}
	return true;
}

static void answer(struct session *s, enum pop_command command, const char *line)
{
	struct buf extra = BUF_INIT(OUT_MAX);
	bool over = false, done = false;
	struct rule r;
	size_t at = 0;

	while (!over && next_rule(s, command, line, &at, &r)) {
		if (r.act == ACT_EXTRA)
			buf_adds(&extra, r.text);
		if (r.done && !done) {
			s->mute = done = true;
			pop_carry_out(s, command, line);
			s->mute = false;
		}
		over = act(s, &r);
	}
	if (!over && !done)
		pop_carry_out(s, command, line);
	buf_add(&s->out, extra.p, extra.n);
	buf_free(&extra);
	flush(s);
}

static enum pop_command which(const char *line)
{
	size_t i;

	for (i = POP_CAPA; i < POP_COMMANDS; i++)
		if (text_starts(line, pop_commands[i]))
			return (enum pop_command)i;
	return POP_COMMANDS;
}

static void hear(struct session *s, const char *line)
{
	const enum pop_command command = which(line);
	const enum ahead ahead = s->ways.ahead;
	char waste[PEEK];

	pthread_mutex_lock(&s->p->lock);
	s->p->counts[command]++;
	pthread_mutex_unlock(&s->p->lock);
	s->heard[command]++;
	look_ahead(s, command, line);
	if ((ahead == AHEAD_LIES || (ahead == AHEAD_RETR && command == POP_RETR)) &&
		more_is_here(s)) {
		s->ended = true;
		return;
	}
	if (ahead == AHEAD_SWALLOWED && more_is_here(s))
		while (recv(s->fd, waste, sizeof(waste), MSG_DONTWAIT) > 0)
			;
	answer(s, command, line);
}

/* ---- sessions ---- */

/* "session K WORDS" whose time has come. Words were checked when they were read. */
static void say_later(struct fakepop *p, unsigned number)
{
	char why[200];
	size_t i;

	for (i = 0; i < p->n_later; i++)
		if (p->later[i].session == number) {
			p->later[i].session = 0;
			if (!fakepop_say(p, p->later[i].argc, p->later[i].argv, why,
				    sizeof(why))) {
				fprintf(stderr, "pop session: %s\n", why);
				abort();
			}
		}
}

static void begin(struct session *s)
{
	struct fakepop *p = s->p;
	struct timeval idle;
	int on = 1;

	pthread_mutex_lock(&p->lock);
	s->number = ++p->connections;
	pthread_mutex_unlock(&p->lock);
	say_later(p, s->number);
	pthread_mutex_lock(&p->lock);
	s->ways = p->ways;
	pthread_mutex_unlock(&p->lock);
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	idle = (struct timeval){ s->ways.idle_ms / 1000,
		s->ways.idle_ms % 1000 * 1000 };
	if (s->ways.idle_ms)
		setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof(idle));
}

static void serve(int fd, void *ctx)
{
	struct session *s = xcalloc(1, sizeof(*s));
	char line[LINE];

	s->p = ctx;
	s->fd = fd;
	buf_init(&s->out, OUT_MAX);
	begin(s);
	s->heard[POP_GREETING] = 1;
	answer(s, POP_GREETING, "");
	while (!s->ended && loop_hear(fd, line, sizeof(line)))
		hear(s, line);
	pthread_mutex_lock(&s->p->lock);
	if (s->in && !s->orderly)
		pop_leave(s);
	pthread_mutex_unlock(&s->p->lock);
	buf_free(&s->out);
	free(s->places);
	free(s);
}

/* ---- life ---- */

void fakepop_open(struct fakepop **out)
{
	static const char *const capas[] = { "USER", "UIDL", "TOP" };
	struct fakepop *p = xcalloc(1, sizeof(*p));
	size_t i;

	for (i = 0; i < N_ELEMENTS(capas); i++)
		p->ways.capa[p->ways.n_capa++] = capas[i];
	p->dovecot = getenv("KIT_DOVECOT") != NULL;
	pthread_mutex_init(&p->lock, NULL);
	loop_open(&p->loop, serve, p);
	*out = p;
}

static void letter_free(struct letter *l)
{
	free(l->text);
	free(l->uidl);
	free(l->size);
	free(l);
}

void fakepop_close(struct fakepop **pp)
{
	struct fakepop *p = *pp;
	size_t i;

	if (!p)
		return;
	loop_close(&p->loop);
	for (i = 0; i < p->n; i++)
		letter_free(p->letters[i]);
	for (i = 0; i < p->n_rules; i++)
		free(p->rules[i].text);
	for (i = 0; i < p->n_later; i++) {
		while (p->later[i].argc)
			free(p->later[i].argv[--p->later[i].argc]);
		free(p->later[i].argv);
	}
	for (i = 0; i < p->n_texts; i++)
		free(p->texts[i]);
	free(p->texts);
	free(p->letters);
	free(p->order);
	pthread_mutex_destroy(&p->lock);
	free(p);
	*pp = NULL;
}

unsigned fakepop_port(const struct fakepop *p)
{
	return loop_port(p->loop);
}
