/* t_pop3.h: what the tests of the pop3 module share: a session over a script. */
#ifndef T_POP3_H
#define T_POP3_H

#include "script.h"

#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/pop3.h>
#include <popferry/text.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* No CAPA, no pipelining: what comes before the point of most scripts. */
#define HELLO "S: +OK hello\nC: CAPA\nS: -ERR unknown\n"
#define LOGIN "C: USER joe\nS: +OK\nC: PASS secret\nS: +OK\nC: CAPA\nS: -ERR unknown\n"

/* The same with a server that can be sent ahead. */
#define CAPA_AHEAD "C: CAPA\nS: +OK\nS: PIPELINING\nS: UIDL\nS: .\n"
#define HELLO_AHEAD "S: +OK hello\n" CAPA_AHEAD
#define LOGIN_AHEAD \
	"C: USER joe\nS: +OK\nC: PASS secret\nS: +OK\n" CAPA_AHEAD \
	"C: NOOP\nC: NOOP\nS: +OK\nS: +OK\n"

struct talk {
	struct script *script;
	struct pop3 *p;
	struct err err;
	enum status st; /* of pop3_over() */
};

static inline struct pop3_config joe(void)
{
	struct pop3_config cfg = { .user = "joe", .password = "secret" };

	cfg.net.tls = TLS_NONE;
	return cfg;
}

static inline void talk_open(struct talk *t, const char *text, size_t step,
	const struct pop3_config *cfg, struct trace *trace)
{
	struct transport over;
	struct conn *c;

	memset(t, 0, sizeof(*t));
	script_open(&t->script, text, step);
	over = script_transport(t->script);
	conn_over(&c, &over, "source", trace);
	t->st = pop3_over(&t->p, c, cfg, &t->err);
}

/* Ends it; the client must have said all that the script expects, and no more. */
static inline void talk_end(struct talk *t, const char *name, size_t step)
{
	char why[SCRIPT_WHY];

	pop3_close(&t->p);
	if (!script_done(t->script, why))
		fail_msg("%s, step %zu: %s (%s)", name, step, why, t->err.text);
	script_close(&t->script);
}

static inline size_t steps_of(const char *text)
{
	struct script *s;
	size_t n;

	script_open(&s, text, 0);
	n = script_size(s);
	script_close(&s);
	return n;
}

static inline void expect(const char *name, size_t step, const struct err *err,
	enum status got, enum status want)
{
	if (got != want)
		fail_msg("%s, step %zu: status %d, not %d (%s)", name, step, got, want,
			err->text);
}

/* Status, exit code and a piece of the text ("" for any). */
static inline void expect_err(const char *name, size_t step, const struct err *err,
	enum status got, enum status want, int ex, const char *text)
{
	expect(name, step, err, got, want);
	if (got >= ST_OK)
		return;
	if (err->exit != ex || err->status != want || !strstr(err->text, text))
		fail_msg(
			"%s, step %zu: status %d, exit %d, text \"%s\" (not %d, \"%s\")",
			name, step, err->status, err->exit, err->text, ex, text);
}

#endif
