/* popcmd.c: the commands of the POP3 server, and what they do to its maildrop. */
#include "fakepop_p.h"

#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 512, OUT_MAX = 1024 * 1024 * 1024 };

/* ---- the maildrop ---- */

struct letter *fakepop_letter(struct fakepop *p, unsigned number)
{
	return number && number <= p->n - p->first ? p->letters[p->first + number - 1]
						   : NULL;
}

static void open_maildrop(struct session *s)
{
	struct fakepop *p = s->p;
	size_t i, n = p->n - p->first;
	const char *gone = p->behaved ? s->ways.old.vanish : NULL;

	s->places = xcalloc(n + 1, sizeof(*s->places));
	for (i = 0; i < n; i++) {
		struct letter *l = p->letters[p->order[i]];

		if (l->hidden || l->gone || (s->ways.window && l->popped) ||
			(gone && strstr(l->text, gone)))
			continue;
		if (s->ways.window && s->n == s->ways.window)
			break;
		s->places[s->n++].l = l;
	}
	p->behaved++;
	p->logins++;
	p->login_ms = clock_ms();
	s->in = true;
}

void pop_leave(struct session *s)
{
	const struct ways *w = &s->ways;
	unsigned deleted = 0;
	size_t i;

	for (i = 0; i < s->n; i++) {
		struct place *at = &s->places[i];
		bool take = at->retrieved &&
			(w->destruction == DESTROY_ON ||
				(w->destruction == DESTROY_QUIT && s->orderly));

		if (at->deleted && s->orderly && w->dele != DELE_IGNORED &&
			(w->dele != DELE_PARTIAL || deleted++ < w->dele_most))
			take = true;
		at->l->gone |= take;
		at->l->taken |= at->retrieved;
		at->l->seen |= at->retrieved;
		at->l->popped |= at->retrieved && s->orderly && w->window;
	}
	s->n = 0;
	if (!s->orderly && w->lock_ms)
		s->p->locked_until = clock_ms() + w->lock_ms;
}

static void pass(struct session *s)
{
	struct fakepop *p = s->p;
	const int64_t now = clock_ms();

	pthread_mutex_lock(&p->lock);
	if (now < p->locked_until)
		pop_say(s, "-ERR [IN-USE] maildrop is locked by another session\r\n");
	else if (s->ways.login_delay_ms && p->login_ms &&
		now < p->login_ms + s->ways.login_delay_ms)
		pop_say(s,
			"-ERR [LOGIN-DELAY] minimum time between logins violation\r\n");
	else {
		open_maildrop(s);
		pop_say(s, "+OK\r\n");
	}
	pthread_mutex_unlock(&p->lock);
}

/* ---- listings ---- */

bool fakepop_add_uidl(struct fakepop *p, const struct ways *w, const struct letter *l,
	size_t place, struct buf *b)
{
	if (l->no_uidl || w->uidl == UIDL_OFF)
		return false;
	if (w->uidl == UIDL_NUMBER)
		return buf_addf(b, "%zu", place);
	buf_adds(b, w->prefix ? w->prefix : "");
	if (w->epoch)
		buf_addf(b, "epoch%u-", w->epoch);
	if (w->uidl == UIDL_RANDOM)
		buf_addf(b, "s%u-%u", p->connections, l->number);
	else if (l->uidl)
		buf_adds(b, l->uidl);
	else
		buf_addf(b, "u%u", l->number);
	return buf_adds(b, w->suffix ? w->suffix : "");
}

static void add_size(const struct session *s, const struct letter *l, struct buf *b)
{
	struct buf bytes = BUF_INIT(OUT_MAX);
	size_t n = l->n;

	if (l->size && *l->size != 'x') {
		buf_adds(b, l->size);
		return;
	}
	if (s->ways.inject || s->ways.rerender) {
		letter_bytes(l, &s->ways, l->renders, &bytes);
		n = bytes.n;
		buf_free(&bytes);
	}
	buf_addf(b, "%.0f", (double)n * (l->size ? strtod(l->size + 1, NULL) : 1));
}

/* By the form: %n number, %u UIDL, %s size. */
static void add_row(struct session *s, const char *form, size_t at)
{
	const struct letter *l = s->places[at].l;

	for (; *form; form++) {
		if (strncmp(form, "%n", 2) == 0)
			buf_addf(&s->out, "%zu", at + 1);
		else if (strncmp(form, "%u", 2) == 0)
			fakepop_add_uidl(s->p, &s->ways, l, at + 1, &s->out);
		else if (strncmp(form, "%s", 2) == 0)
			add_size(s, l, &s->out);
		else {
			buf_addc(&s->out, *form);
			continue;
		}
		form++;
	}
}

static void add_rows(struct session *s, bool uidl, size_t only)
{
	const char *form = uidl ? s->ways.uidls.form : s->ways.lists.form;
	size_t i, at;

	for (i = 0; i < s->n; i++) {
		const struct letter *l;

		at = s->ways.rows_down ? s->n - 1 - i : i;
		l = s->places[at].l;
		if (s->places[at].deleted || (uidl ? l->no_uidl : l->no_list) ||
			(only && at + 1 != only))
			continue;
		add_row(s, form ? form : uidl ? "%n %u" : "%n %s", at);
		if (!only)
			buf_adds(&s->out, "\r\n");
	}
}

static void list(struct session *s, bool uidl, const char *line)
{
	const char *raw = uidl ? s->ways.uidls.raw : s->ways.lists.raw;
	const char *extra = uidl ? s->ways.uidls.extra : s->ways.lists.extra;
	size_t only = strtoul(line + 4, NULL, 10);

	if (uidl && s->ways.uidl == UIDL_OFF) {
		pop_say(s, "-ERR unknown command\r\n");
		return;
	}
	if (s->mute)
		return;
	buf_adds(&s->out, only ? "+OK " : "+OK\r\n");
	pthread_mutex_lock(&s->p->lock);
	if (raw)
		buf_adds(&s->out, raw);
	else
		add_rows(s, uidl, only);
	pthread_mutex_unlock(&s->p->lock);
	if (extra && !only)
		buf_addf(&s->out, "%s\r\n", extra);
	buf_adds(&s->out, only ? "\r\n" : ".\r\n");
}

static void stat_all(struct session *s)
{
	struct buf size = BUF_INIT(LINE);
	uint64_t sum = 0;
	size_t i;

	pthread_mutex_lock(&s->p->lock);
	for (i = 0; i < s->n; i++) {
		buf_clear(&size);
		add_size(s, s->places[i].l, &size);
		sum += strtoull(buf_str(&size), NULL, 10);
	}
	pthread_mutex_unlock(&s->p->lock);
	if (!s->mute)
		buf_addf(&s->out, "+OK %zu %llu\r\n", s->n, (unsigned long long)sum);
	buf_free(&size);
}

/* ---- one message ---- */

/* The place of the number in a command; NULL, with an answer, when there is none. */
static struct place *place_of(struct session *s, const char *line)
{
	const char *blank = strchr(line, ' ');
	unsigned long n = blank ? strtoul(blank, NULL, 10) : 0;
	struct place *at = n && n <= s->n ? &s->places[n - 1] : NULL;

	if (at && at->deleted)
		pop_blame(s, "a command about a message deleted in this session", line);
	if (!at || at->deleted)
		pop_say(s, "-ERR no such message\r\n");
	return at && !at->deleted ? at : NULL;
}

static bool holds(const struct letter *l, const char *text)
{
	return text && strstr(l->text, text);
}

/* What the old ways say of this message; true: it is answered. */
static bool old_ways(struct session *s, const struct letter *l)
{
	const struct fakepop_ways *w = &s->ways.old;

	if (holds(l, w->refuse)) {
		pop_say(s, "-ERR cannot read this message\r\n");
		return true;
	}
	if (holds(l, w->hang))
		pop_hang(s);
	return s->ended;
}

static bool cut_now(struct session *s, struct letter *l)
{
	if (!l->cuts)
		return false;
	l->cut += l->cut_step;
	if (l->cut_times && !--l->cut_times)
		l->cuts = false;
	return s->ended = true;
}

static void send_letter(struct session *s, struct letter *l)
{
	const size_t before = s->out.n;
	size_t cut;

	pop_say(s, "+OK\r\n");
	if (s->mute)
		return;
	pthread_mutex_lock(&s->p->lock);
	cut = s->out.n + l->cut;
	letter_wire(l, &s->ways, &s->out);
	if (cut_now(s, l) && s->out.n > cut)
		s->out.n = cut;
	if (holds(l, s->ways.old.poison)) {
		s->out.n = before + (s->out.n - before) / 2;
		s->ended = true;
	}
	pthread_mutex_unlock(&s->p->lock);
}

/* True: this session gets no more messages. */
static bool limited(struct session *s)
{
	const struct ways *w = &s->ways;

	if (w->old.drop_after && s->retrs >= w->old.drop_after)
		return s->ended = true;
	if (!w->limit || w->limit_bytes || s->retrs < w->limit)
		return false;
	if (w->limit_act == ACT_REPLY)
		pop_say(s, "-ERR Download exceed\r\n");
	else if (w->limit_act == ACT_HANG)
		pop_hang(s);
	else
		s->ended = true;
	return true;
}

static void retr(struct session *s, const char *line)
{
	struct place *at;

	if (limited(s))
		return;
	s->retrs++;
	at = place_of(s, line);
	if (!at || old_ways(s, at->l))
		return;
	send_letter(s, at->l);
	at->retrieved |= !s->ended;
}

static void top(struct session *s, const char *line)
{
	struct place *at = place_of(s, line);
	struct letter head;
	const char *end;
	char *text;

	if (!at)
		return;
	pop_say(s, "+OK\r\n");
	if (s->mute)
		return;
	pthread_mutex_lock(&s->p->lock);
	head = *at->l;
	end = memmem(head.text, head.n, "\r\n\r\n", 4);
	text = xmemdup0(head.text, end ? (size_t)(end + 4 - head.text) : head.n);
	head.n = end ? (size_t)(end + 4 - head.text) : head.n;
	head.text = text;
	letter_wire(&head, &s->ways, &s->out);
	pthread_mutex_unlock(&s->p->lock);
	free(text);
}

static void dele(struct session *s, const char *line)
{
	struct place *at = place_of(s, line);

	if (!at)
		return;
	at->deleted = true;
	s->dele_deleted++;
	pop_say(s, "+OK\r\n");
}

static void rset(struct session *s)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		s->places[i].retrieved = s->places[i].deleted = false;
	s->dele_deleted = 0;
	pop_say(s, "+OK\r\n");
}

static void quit(struct session *s)
{
	const bool partial = s->ways.dele == DELE_PARTIAL &&
		s->dele_deleted > s->ways.dele_most;

	s->orderly = true;
	pthread_mutex_lock(&s->p->lock);
	pop_leave(s);
	pthread_mutex_unlock(&s->p->lock);
	pop_say(s,
		partial ? "-ERR some deleted messages not removed\r\n" : "+OK bye\r\n");
	s->ended = true;
}

/* ---- all of them ---- */

static void capa(struct session *s)
{
	const struct ways *w = &s->ways;
	size_t i;

	if (w->capa_off) {
		pop_say(s, "-ERR unknown command\r\n");
		return;
	}
	pop_say(s, "+OK\r\n");
	for (i = 0; i < w->n_capa; i++) {
		if (strcmp(w->capa[i], "UIDL") == 0 &&
			(w->uidl == UIDL_OFF || w->uidl == UIDL_HIDDEN))
			continue;
		pop_say(s, w->capa[i]);
		pop_say(s, "\r\n");
	}
	if (s->p->dovecot)
		pop_say(s, "SASL PLAIN\r\n");
	if (w->ahead != AHEAD_OFF || s->p->dovecot)
		pop_say(s, "PIPELINING\r\n");
	pop_say(s, ".\r\n");
}

void pop_carry_out(struct session *s, enum pop_command command, const char *line)
{
	const bool inside = command >= POP_STAT && command <= POP_RSET;

	if (inside && !s->in) {
		pop_say(s, "-ERR log in first\r\n");
		return;
	}
	switch (command) {
	case POP_CAPA:
		capa(s);
		break;
	case POP_AUTH: /* PLAIN, with all of it */
		if (!s->p->dovecot)
			pop_say(s, "-ERR unknown command\r\n");
		else
			pass(s);
		break;
	case POP_PASS:
		pass(s);
		break;
	case POP_STAT:
		stat_all(s);
		break;
	case POP_UIDL:
	case POP_LIST:
		list(s, command == POP_UIDL, line);
		break;
	case POP_RETR:
		retr(s, line);
		break;
	case POP_TOP:
		top(s, line);
		break;
	case POP_DELE:
		dele(s, line);
		break;
	case POP_RSET:
		rset(s);
		break;
	case POP_QUIT:
		quit(s);
		break;
	case POP_USER:
	case POP_NOOP:
		pop_say(s, "+OK\r\n");
		break;
	case POP_GREETING:
		pop_say(s,
			s->ways.greeting        ? s->ways.greeting
				: s->p->dovecot ? "+OK Dovecot ready."
						: "+OK fake");
		pop_say(s, "\r\n");
		break;
	default:
		pop_say(s, "-ERR unknown command\r\n");
	}
}
