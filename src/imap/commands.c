/*
 * commands.c: does the text of a message hold IMAP commands?
 *
 * A server that refuses a literal which is already on its way may read it as
 * commands (quirk Q75), and who wrote the mail chose them. So mail with a line
 * that could do harm waits for the server's go-ahead, whatever was proven
 * before. Ordinary text is hardly ever such a line, and should it be, it
 * costs a round trip.
 */
#include <popferry/text.h>

#include "session.h"

#include <string.h>

enum {
	LINE_HEAD = 512, /* kept of a line that does not end in its piece */
};

/* What must follow the verb for a server to obey. */
enum operands {
	OP_NONE,
	OP_SET,      /* of messages */
	OP_LITERAL,  /* a literal at the end of the line */
	OP_UID,      /* another verb */
	OP_ANY = 16, /* plus how many there are */
};

/* Not SUBSCRIBE and UNSUBSCRIBE: "please unsubscribe me" is in many a mail, and at worst
 * a folder is not shown any more. */
static const struct {
	const char *verb;
	unsigned operands;
} verbs[] = {
	{ "APPEND", OP_LITERAL },
	{ "CLOSE", OP_NONE },
	{ "COPY", OP_SET },
	{ "CREATE", OP_ANY + 1 },
	{ "DELETE", OP_ANY + 1 },
	{ "DELETEACL", OP_ANY + 2 },
	{ "EXPUNGE", OP_NONE },
	{ "MOVE", OP_SET },
	{ "RENAME", OP_ANY + 2 },
	{ "REPLACE", OP_LITERAL },
	{ "SETACL", OP_ANY + 3 },
	{ "STORE", OP_SET },
	{ "UID", OP_UID },
};

/* The next word of a line, a quoted string being one; false: there is none. */
static bool take_word(const char **p, const char *end, const char **word, size_t *n)
{
	bool quoted = false;

	while (*p < end && (**p == ' ' || **p == '\t'))
		++*p;
	*word = *p;
	while (*p < end && (quoted || (**p != ' ' && **p != '\t')))
		quoted ^= *(*p)++ == '"';
	*n = (size_t)(*p - *word);
	return *n > 0;
}

static bool follows(unsigned operands, const char *p, const char *end)
{
	const char *word;
	unsigned words = 0;
	size_t n;

	if (operands == OP_LITERAL)
		return end > p && end[-1] == '}';
	if (!take_word(&p, end, &word, &n))
		return operands == OP_NONE;
	if (end[-1] == '}' && operands != OP_NONE)
		return true; /* the rest is in a literal */
	if (operands == OP_SET)
		return strchr("0123456789*$", *word) != NULL;
	if (operands == OP_UID)
		return text_glob("expunge", word, n) || text_glob("store", word, n) ||
			text_glob("copy", word, n) || text_glob("move", word, n);
	do
		words++;
	while (take_word(&p, end, &word, &n));
	return operands == OP_ANY + words;
}

static bool is_command(const char *p, const char *end)
{
	const char *word;
	size_t n, k;

	/* Most lines of an attachment end here. */
	if (!memchr(p, ' ', (size_t)(end - p)) && !memchr(p, '\t', (size_t)(end - p)))
		return false;
	while (end > p && (end[-1] == '\r' || end[-1] == ' ' || end[-1] == '\t'))
		end--;
	/* A tag, which may be anything, and a verb. */
	if (!take_word(&p, end, &word, &n) || !take_word(&p, end, &word, &n))
		return false;
	for (k = 0; k < N_ELEMENTS(verbs); k++)
		if (strlen(verbs[k].verb) == n && text_same_n(word, verbs[k].verb, n))
			return follows(verbs[k].operands, p, end);
	return false;
}

/* The lines of the message, as they go out. */
bool imap_commands_in(struct imap *i, const struct message *m)
{
	char head[LINE_HEAD];
	size_t kept = 0, n, line;
	const char *p, *lf;
	struct wire w;

	wire_begin(&w, m);
	for (;;) {
		if (wire_next(&w, i->piece, PIECE, &p, &n, NULL) != ST_OK)
			return true; /* whoever sends it will say why */
		if (!n)
			return kept && is_command(head, head + kept);
		while (n) {
			lf = memchr(p, '\n', n);
			line = lf ? (size_t)(lf - p) : n;
			if (lf && !kept && is_command(p, lf))
				return true;
			if (!lf || kept) {
				size_t room = LINE_HEAD - kept;

				memcpy(head + kept, p, line < room ? line : room);
				kept += line < room ? line : room;
			}
			if (lf && kept) {
				if (is_command(head, head + kept))
					return true;
				kept = 0;
			}
			p += lf ? line + 1 : n;
			n -= lf ? line + 1 : n;
		}
	}
}
