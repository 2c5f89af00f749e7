/* talk.c: commands out, replies in, and what to say when they do not fit. */
#include <popferry/clock.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include "session.h"

#include <stdio.h>
#include <string.h>

enum {
	COMMAND_MAX = 512,
	WORDS_MAX = 200, /* of a reply in an error text */
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

struct reply pop3_reply_parse(const char *line, size_t n)
{
	/* "+ERR" is real: quirk Q33. */
	static const struct {
		const char *mark;
		enum reply_kind kind;
	} marks[] = {
		{ "+OK", REPLY_OK },
		{ "-ERR", REPLY_ERR },
		{ "+ERR", REPLY_ERR },
	};
	struct reply r = { REPLY_ODD, line, n, false };
	size_t i, skip = 0;

	for (i = 0; i < N_ELEMENTS(marks) && !skip; i++) {
		size_t k = strlen(marks[i].mark);

		if (n < k || !text_same_n(line, marks[i].mark, k))
			continue;
		r.kind = marks[i].kind;
		skip = k;
	}
	if (!skip && n && line[0] == '+' && (n == 1 || is_blank(line[1]))) {
		r.kind = REPLY_MORE;
		skip = 1;
	}
	while (skip && skip < n && is_blank(line[skip]))
		skip++;
	r.words += skip;
	r.n -= skip;
	return r;
}

enum status talk_broken(struct pop3 *p, struct err *err, const char *fmt, ...)
{
	char text[ERR_TEXT];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	p->ahead_failed |= p->ahead;
	conn_kill(p->c);
	return err_set(err, ST_RETRY, EX_PROTOCOL, "%s %s", p->where, text);
}

enum status talk_odd(
	struct pop3 *p, const struct reply *r, const char *command, struct err *err)
{
	char words[WORDS_MAX];

	text_clean(words, sizeof(words), r->words, r->n);
	talk_broken(p, err,
		"answered %s with \"%s\", which does not belong there; the session is given "
		"up because its replies are out of step",
		command, words);
	err_reply(err, words, strlen(words));
	return ST_RETRY;
}

enum status talk_said(const struct reply *r, struct err *err, enum status st, int ex,
	const char *fmt, ...)
{
	char text[ERR_TEXT], words[WORDS_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_clean(words, sizeof(words), r->words, r->n);
	err_set(err, st, ex, "%s (server said: %s)", text, *words ? words : "nothing");
	err_reply(err, words, strlen(words));
	return st;
}

enum status talk_unasked(struct pop3 *p, struct err *err)
{
	char said[WORDS_MAX];
	const char *rest;
	size_t n;

	rest = conn_peek(p->c, &n);
	if (!n)
		return ST_OK;
	text_clean(said, sizeof(said), rest, n);
	return talk_broken(p, err,
		"sent what nobody asked for (\"%s\"); the session is given up because its "
		"replies are out of step",
		said);
}

enum status talk_settled(struct pop3 *p, struct err *err)
{
	enum status st = conn_poll(p->c, err);

	return st == ST_OK ? talk_unasked(p, err) : st;
}

enum status talk_reply(struct pop3 *p, struct reply *r, const char *command,
	int patience, struct err *err)
{
	int64_t start = clock_ms();
	uint64_t came;
	const char *line;
	enum status st;
	size_t n, left;

	conn_peek(p->c, &left);
	came = conn_counts(p->c).in - left;
	conn_patience(p->c, patience);
	st = conn_line(p->c, POP3_STATUS_MAX, &line, &n, err);
	conn_patience(p->c, p->cfg.idle_ms);
	if (st == ST_OK) {
		*r = pop3_reply_parse(line, n);
		conn_peek(p->c, &left);
		r->bare = conn_counts(p->c).in - left - came == n + 1;
		return ST_OK;
	}
	if (st == ST_DENIED)
		return talk_broken(p, err, "answered %s with a line over %d bytes",
			command, POP3_STATUS_MAX);
	/* A reply that never comes is what broken pipelining looks like. */
	if (p->ahead && clock_ms() - start >= patience)
		p->ahead_failed = true;
	err_note(err, "waiting for the reply to %s", command);
	return st;
}

enum status talk(struct pop3 *p, struct reply *r, struct err *err, const char *fmt, ...)
{
	char command[COMMAND_MAX];
	enum status st;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	st = talk_settled(p, err);
	if (st == ST_OK)
		st = conn_sendf(p->c, err, "%s\r\n", command);
	if (st == ST_OK)
		st = talk_reply(p, r, command, p->cfg.reply_ms, err);
	return st;
}
