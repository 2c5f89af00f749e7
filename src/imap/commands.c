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
	TAG_NEAR = 32,   /* a first word of less is looked for byte by byte */
};

/* What must follow the verb for a server to obey. */
enum operands {
	OP_NONE,
	OP_SET,      /* of messages */
	OP_LITERAL,  /* a literal at the end of the line */
	OP_UID,      /* another verb */
	OP_ANY = 16, /* plus how many there are */
};

#define VERB(s) s, sizeof(s) - 1

/* Not SUBSCRIBE and UNSUBSCRIBE: "please unsubscribe me" is in many a mail, and at
 * worst a folder is not shown any more. */
static const struct {
	const char *verb;
	size_t n;
	unsigned operands;
} verbs[] = {
	{ VERB("APPEND"), OP_LITERAL },
	{ VERB("CLOSE"), OP_NONE },
	{ VERB("COPY"), OP_SET },
	{ VERB("CREATE"), OP_ANY + 1 },
	{ VERB("DELETE"), OP_ANY + 1 },
	{ VERB("DELETEACL"), OP_ANY + 2 },
	{ VERB("EXPUNGE"), OP_NONE },
	{ VERB("MOVE"), OP_SET },
	{ VERB("RENAME"), OP_ANY + 2 },
	{ VERB("REPLACE"), OP_LITERAL },
	{ VERB("SETACL"), OP_ANY + 3 },
	{ VERB("STORE"), OP_SET },
	{ VERB("UID"), OP_UID },
};

/* Of the verbs the first two letters, in either case: by the first, those that may be
 * the second. */
#define LETTER(c) (1u << ((c)&31))
static const uint32_t pairs[32] = {
	['A' & 31] = LETTER('P'),
	['C' & 31] = LETTER('L') | LETTER('O') | LETTER('R'),
	['D' & 31] = LETTER('E'),
	['E' & 31] = LETTER('X'),
	['M' & 31] = LETTER('O'),
	['R' & 31] = LETTER('E'),
	['S' & 31] = LETTER('E') | LETTER('T'),
	['U' & 31] = LETTER('I'),
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

	while (end > p && (end[-1] == '\r' || end[-1] == ' ' || end[-1] == '\t'))
		end--;
	/* A tag, which may be anything, and a verb. */
	if (!take_word(&p, end, &word, &n) || !take_word(&p, end, &word, &n))
		return false;
	for (k = 0; k < N_ELEMENTS(verbs); k++)
		if (verbs[k].n == n && text_same_n(word, verbs[k].verb, n))
			return follows(verbs[k].operands, p, end);
	return false;
}

/* A line that does not end in its piece, as far as it counts. */
struct head {
	size_t n;
	char p[LINE_HEAD];
};

static void keep(struct head *h, const char *p, const char *end)
{
	size_t n = (size_t)(end - p), room = LINE_HEAD - h->n;

	memcpy(h->p + h->n, p, n < room ? n : room);
	h->n += n < room ? n : room;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static const char *find_blank(const char *p, const char *end)
{
	const char *space = memchr(p, ' ', (size_t)(end - p));
	const char *tab = memchr(p, '\t', (size_t)((space ? space : end) - p));

	return tab ? tab : space;
}

/* Where a first word is seen to end, or to be an odd one. */
static const bool stops[256] = {
	[' '] = true, ['\t'] = true, ['\n'] = true, ['"'] = true
};

/* Does the word behind these blanks begin as a verb does? Tells most lines apart. */
static bool verb_follows(const char *p, const char *end)
{
	while (p < end && is_blank(*p))
		p++;
	return end - p >= 2 && pairs[p[0] & 31] & LETTER(p[1]);
}

/* In lines from p on; what is left of the last one is kept. */
static bool command_in(struct head *h, const char *p, const char *end)
{
	const char *blank, *line, *lf;

	for (; p < end; p = lf + 1) {
		size_t near = end - p < TAG_NEAR ? (size_t)(end - p) : TAG_NEAR, k = 0;
		bool tag; /* the line begins with a word, which ends at the blank */

		while (k < near && !stops[(unsigned char)p[k]])
			k++;
		lf = line = p;
		blank = p + k;
		if (k < near && *blank == '\n') {
			lf = blank;
			continue;
		}
		tag = k && k < near && *blank != '"';
		/* A command has a blank; lines of an attachment have none. */
		if (!tag) {
			blank = find_blank(p, end);
			lf = memrchr(p, '\n', (size_t)((blank ? blank : end) - p));
			line = lf ? lf + 1 : p;
		}
		lf = blank ? memchr(blank, '\n', (size_t)(end - blank)) : NULL;
		if (!lf) {
			keep(h, line, end);
			return false;
		}
		if ((!tag || verb_follows(blank, lf)) && is_command(line, lf))
			return true;
	}
	return false;
}

/* The lines of the message, as they go out. */
bool imap_commands_in(struct imap *i, const struct message *m)
{
	struct head head = { .n = 0 };
	const char *p, *end, *lf;
	struct wire w;
	size_t n;

	wire_begin(&w, m);
	for (;;) {
		if (wire_next(&w, i->piece, PIECE, &p, &n, NULL) != ST_OK)
			return true; /* whoever sends it will say why */
		if (!n)
			return head.n && is_command(head.p, head.p + head.n);
		end = p + n;
		if (head.n) {
			lf = memchr(p, '\n', n);
			keep(&head, p, lf ? lf : end);
			if (!lf)
				continue;
			if (is_command(head.p, head.p + head.n))
				return true;
			head.n = 0;
			p = lf + 1;
		}
		if (command_in(&head, p, end))
			return true;
	}
}
