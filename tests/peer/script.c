/* script.c: the scripted server. */
#include "script.h"

#include <popferry/buf.h>
#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { SAY, EXACT, PREFIX, SYNC, END };

struct item {
	enum kind kind;
	unsigned line;
	struct buf text;
};

struct script {
	struct item *items;
	size_t n, at;
	size_t step;
	struct buf in;  /* from the client, not yet matched */
	struct buf out; /* for the client, not yet read */
	bool ended, failed;
	char why[SCRIPT_WHY];
};

static void die(unsigned line, const char *text)
{
	fprintf(stderr, "script line %u is not a script: %s\n", line, text);
	abort();
}

static void unescape(struct buf *b, const char *s, size_t n, unsigned line)
{
	static const char from[] = "rnt\\", to[] = "\r\n\t\\";
	const char *hit;
	size_t i;

	for (i = 0; i < n; i++) {
		char hex[3] = "";
		unsigned char byte;

		if (s[i] != '\\') {
			buf_addc(b, s[i]);
			continue;
		}
		i++;
		if (i < n && (hit = memchr(from, s[i], sizeof(from) - 1))) {
			buf_addc(b, to[hit - from]);
			continue;
		}
		if (i + 2 >= n || s[i] != 'x')
			die(line, "bad escape");
		memcpy(hex, s + i + 1, 2);
		if (!text_unhex(&byte, 1, hex))
			die(line, "bad escape");
		buf_addc(b, (char)byte);
		i += 2;
	}
}

static void parse_line(struct script *s, const char *p, size_t n, unsigned line)
{
	static const struct {
		const char *word;
		enum kind kind;
		bool text, crlf;
	} words[] = {
		{ "S:", SAY, true, true },
		{ "S-", SAY, true, false },
		{ "C:", EXACT, true, true },
		{ "C-", EXACT, true, false },
		{ "C~", PREFIX, true, false },
		{ "SYNC", SYNC, false, false },
		{ "EOF", END, false, false },
	};
	struct item *it;
	size_t i, k;

	for (i = 0; i < N_ELEMENTS(words); i++) {
		k = strlen(words[i].word);
		if (n >= k && memcmp(p, words[i].word, k) == 0)
			break;
	}
	if (i == N_ELEMENTS(words) || (n > k && (!words[i].text || p[k] != ' ')))
		die(line, p);
	s->items = xreallocarray(s->items, s->n + 1, sizeof(*s->items));
	it = &s->items[s->n++];
	it->kind = words[i].kind;
	it->line = line;
	buf_init(&it->text, SIZE_MAX / 4);
	if (n > k)
		unescape(&it->text, p + k + 1, n - k - 1, line);
	if (words[i].crlf)
		buf_adds(&it->text, "\r\n");
}

static void fail(struct script *s, const struct item *it, const char *what)
{
	char got[160], want[160];

	text_clean(got, sizeof(got), buf_str(&s->in), s->in.n);
	text_clean(want, sizeof(want), buf_str(&it->text), it->text.n);
	snprintf(s->why, sizeof(s->why),
		"script line %u: %s; expected \"%s\", got \"%s\"", it->line, what, want,
		got);
	s->failed = true;
}

/* Matches what came from the client; true when the item is done with. */
static bool match(struct script *s, const struct item *it)
{
	size_t n = s->in.n < it->text.n ? s->in.n : it->text.n;
	const char *lf;

	if (n && memcmp(s->in.p, it->text.p, n) != 0) {
		fail(s, it, "the client sent something else");
		return false;
	}
	if (n < it->text.n)
		return false;
	if (it->kind == EXACT) {
		buf_drop(&s->in, n);
		return true;
	}
	lf = s->in.n > n ? memchr(s->in.p + n, '\n', s->in.n - n) : NULL;
	if (!lf)
		return false;
	buf_drop(&s->in, (size_t)(lf - s->in.p) + 1);
	return true;
}

/* Goes on in the script as far as the client lets us. */
static void advance(struct script *s)
{
	while (!s->failed && !s->ended && s->at < s->n) {
		const struct item *it = &s->items[s->at];

		switch (it->kind) {
		case SAY:
			buf_add(&s->out, it->text.p, it->text.n);
			break;
		case EXACT:
		case PREFIX:
			if (!match(s, it))
				return;
			break;
		case SYNC:
			if (s->in.n)
				fail(s, it, "the client sent ahead");
			if (s->in.n || s->out.n)
				return;
			break;
		case END:
			s->ended = true;
			break;
		}
		s->at++;
	}
}

static size_t limited(const struct script *s, size_t n)
{
	return s->step && n > s->step ? s->step : n;
}

static long script_read(void *ctx, char *p, size_t n)
{
	struct script *s = ctx;

	advance(s);
	if (s->failed || (s->ended && !s->out.n))
		return 0;
	if (!s->out.n)
		return -1;
	n = limited(s, n < s->out.n ? n : s->out.n);
	memcpy(p, s->out.p, n);
	buf_drop(&s->out, n);
	advance(s);
	return (long)n;
}

static long script_write(void *ctx, const char *p, size_t n)
{
	struct script *s = ctx;

	n = limited(s, n);
	if (!s->ended)
		buf_add(&s->in, p, n);
	advance(s);
	return (long)n;
}

static bool script_wait(void *ctx, bool write, int ms)
{
	const struct script *s = ctx;

	(void)ms;
	return write || s->out.n || s->ended || s->failed;
}

void script_open(struct script **out, const char *text, size_t step)
{
	struct script *s = xcalloc(1, sizeof(*s));
	unsigned line = 0;
	size_t n;

	s->step = step;
	buf_init(&s->in, SIZE_MAX / 4);
	buf_init(&s->out, SIZE_MAX / 4);
	while (*text) {
		n = strcspn(text, "\n");
		line++;
		if (n && *text != '#')
			parse_line(s, text, n, line);
		text += n;
		text += *text == '\n';
	}
	advance(s);
	*out = s;
}

void script_close(struct script **sp)
{
	struct script *s = *sp;
	size_t i;

	if (!s)
		return;
	for (i = 0; i < s->n; i++)
		buf_free(&s->items[i].text);
	free(s->items);
	buf_free(&s->in);
	buf_free(&s->out);
	free(s);
	*sp = NULL;
}

struct transport script_transport(struct script *s)
{
	return (struct transport){ s, script_read, script_write, script_wait, NULL };
}

size_t script_size(const struct script *s)
{
	size_t i, n = 0;

	for (i = 0; i < s->n; i++)
		if (s->items[i].kind == SAY)
			n += s->items[i].text.n;
	return n;
}

bool script_done(const struct script *s, char why[SCRIPT_WHY])
{
	char text[160];
	size_t i;

	why[0] = '\0';
	if (s->failed) {
		snprintf(why, SCRIPT_WHY, "%s", s->why);
		return false;
	}
	for (i = s->at; i < s->n; i++) {
		const struct item *it = &s->items[i];

		if (it->kind != EXACT && it->kind != PREFIX)
			continue;
		snprintf(why, SCRIPT_WHY,
			"script line %u: the client never sent \"%s\"", it->line,
			text_clean(text, sizeof(text), buf_str(&it->text), it->text.n));
		return false;
	}
	if (s->in.n) {
		snprintf(why, SCRIPT_WHY, "the client sent more than expected: \"%s\"",
			text_clean(text, sizeof(text), s->in.p, s->in.n));
		return false;
	}
	return true;
}
