/*
 * guard.c: what libetpan cannot stand, seen before libetpan sees it.
 *
 * It recurses for each parenthesis; it takes memory for all of a literal before
 * a byte of it has come; and a list of PERMANENTFLAGS that does not start with
 * a flag makes it follow a null pointer.
 */
#include "conn.h"

#include <popferry/text.h>

#include <string.h>

enum { GUARD_DEPTH = 256 };

static const char flags_word[] = "PERMANENTFLAGS";
enum { FLAGS_SEEN = sizeof(flags_word) - 1, FLAGS_OPEN, FLAGS_BACKSLASH };

void guard_reset(struct conn *c)
{
	memset(&c->guarded, 0, sizeof(c->guarded));
}

static bool nests_too_deep(struct conn *c, char ch)
{
	struct guarded *g = &c->guarded;

	if (ch == '\n')
		g->depth = 0;
	else if (ch == ')' && g->depth)
		g->depth--;
	return ch == '(' && ++g->depth > GUARD_DEPTH;
}

/* Behind "{1234}": is that more than may still come? Need not end the line (Domino). */
static bool announces_too_much(struct conn *c, char ch)
{
	uint64_t left = c->budget == UINT64_MAX ? UINT64_MAX : c->budget + c->in_n;
	struct guarded *g = &c->guarded;
	bool over = g->in_braces && ch == '}' && g->literal > left;

	if (ch == '{') {
		g->in_braces = true;
		g->literal = 0;
	} else if (ch < '0' || ch > '9') {
		g->in_braces = g->in_braces && ch == ' ';
	} else if (g->literal <= UINT32_MAX) {
		g->literal = g->literal * 10 + (uint64_t)(ch - '0');
	}
	return over;
}

static bool in_atom(char ch)
{
	return ch > ' ' && ch <= '~' && !strchr("(){%*\"\\]", ch);
}

/* "PERMANENTFLAGS (" and then neither a flag nor ")". */
static bool has_no_flag(struct conn *c, char ch)
{
	unsigned *at = &c->guarded.flags;

	switch (*at) {
	case FLAGS_SEEN:
		if (ch != ' ')
			*at = ch == '(' ? FLAGS_OPEN : 0;
		return false;
	case FLAGS_OPEN:
		*at = ch == '\\' ? FLAGS_BACKSLASH : 0;
		return ch != '\\' && ch != ')' && !in_atom(ch);
	case FLAGS_BACKSLASH:
		*at = 0;
		return ch != '*' && !in_atom(ch);
	default:
		if (!text_same_n(&ch, &flags_word[*at], 1))
			*at = 0;
		if (text_same_n(&ch, &flags_word[*at], 1))
			++*at;
		return false;
	}
}

bool conn_guarded(struct conn *c, const char *p, size_t n)
{
	size_t i;

	for (i = 0; c->guard && i < n; i++) {
		if (nests_too_deep(c, p[i]))
			conn_fail(c, ST_DENIED, EX_PROTOCOL,
				"sent more than %d nested parentheses in one line",
				GUARD_DEPTH);
		else if (announces_too_much(c, p[i]))
			conn_fail(c, ST_DENIED, EX_PROTOCOL,
				"announced a longer answer than is accepted");
		else if (has_no_flag(c, p[i]))
			conn_fail(c, ST_DENIED, EX_PROTOCOL,
				"sent PERMANENTFLAGS that are no flags");
		else
			continue;
		return false;
	}
	return true;
}
