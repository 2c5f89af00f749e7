/* scene.c: reads case files and takes their words apart. */
#include "scene.h"

#include <popferry/buf.h>
#include <popferry/mem.h>

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 64 * 1024, WORDS_MAX = 200 };

bool scene_bad(char *why, size_t cap, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, cap, fmt, ap);
	va_end(ap);
	return false;
}

/* ---- words ---- */

static int hex(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *p = c ? strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;

	return p ? (int)(p - digits) : -1;
}

/* An escape at *p, behind the backslash. */
static bool escape(const char **p, struct buf *b, char *why, size_t cap)
{
	static const char from[] = "rnt\\\"", to[] = "\r\n\t\\\"";
	const char *c = **p ? strchr(from, **p) : NULL;

	if (c) {
		buf_addc(b, to[c - from]);
		++*p;
		return true;
	}
	if (**p != 'x' || hex((*p)[1]) < 0 || hex((*p)[2]) < 0)
		return scene_bad(why, cap, "\\%.3s is no escape", *p);
	if ((*p)[1] == '0' && (*p)[2] == '0')
		return scene_bad(why, cap, "\\x00 cannot be in a word");
	buf_addc(b, (char)(hex((*p)[1]) * 16 + hex((*p)[2])));
	*p += 3;
	return true;
}

/* One word at *p, which is not blank. */
static bool word(const char **p, char **out, char *why, size_t cap)
{
	struct buf b = BUF_INIT(LINE_MAX_BYTES);
	bool quoted = false, ok = true;

	for (; ok && **p && (quoted || !strchr(" \t", **p));) {
		const char c = *(*p)++;

		if (c == '"')
			quoted = !quoted;
		else if (c == '\\' && quoted)
			ok = escape(p, &b, why, cap);
		else
			buf_addc(&b, c);
	}
	if (ok && quoted)
		ok = scene_bad(why, cap, "a quote is not closed");
	if (ok)
		*out = xstrdup(buf_str(&b));
	buf_free(&b);
	return ok;
}

static bool words(const char *p, struct scene_line *l, char *why, size_t cap)
{
	l->argc = 0;
	l->argv = xcalloc(WORDS_MAX + 1, sizeof(*l->argv));
	for (;;) {
		p += strspn(p, " \t");
		if (!*p || *p == '#')
			return true;
		if (l->argc == WORDS_MAX)
			return scene_bad(why, cap, "more than %d words", WORDS_MAX);
		if (!word(&p, &l->argv[l->argc], why, cap))
			return false;
		l->argc++;
	}
}

/* ---- files ---- */

static void release(struct scene_line *l)
{
	int i;

	for (i = 0; i < l->argc; i++)
		free(l->argv[i]);
	free(l->argv);
}

static bool add(
	struct scene *s, const char *text, unsigned number, char *why, size_t cap)
{
	struct scene_line l = { .number = number };

	if (!words(text, &l, why, cap)) {
		release(&l);
		return false;
	}
	if (!l.argc) {
		release(&l);
		return true;
	}
	s->lines = xreallocarray(s->lines, s->n + 1, sizeof(*s->lines));
	s->lines[s->n++] = l;
	return true;
}

bool scene_read(struct scene **out, const char *path, char *why, size_t cap)
{
	struct scene *s = xcalloc(1, sizeof(*s));
	char *line = xmalloc(LINE_MAX_BYTES), what[200];
	FILE *f = fopen(path, "re");
	unsigned number = 0;
	bool ok = true;

	*out = s;
	s->path = xstrdup(path);
	if (!f)
		ok = scene_bad(why, cap, "%s: cannot be read", path);
	while (ok && fgets(line, LINE_MAX_BYTES, f)) {
		line[strcspn(line, "\n")] = '\0';
		ok = add(s, line, ++number, what, sizeof(what));
		if (!ok)
			scene_bad(why, cap, "%s:%u: %s", path, number, what);
	}
	if (f)
		fclose(f);
	free(line);
	if (!ok)
		scene_free(out);
	return ok;
}

void scene_free(struct scene **sp)
{
	struct scene *s = *sp;

	if (!s)
		return;
	while (s->n)
		release(&s->lines[--s->n]);
	free(s->lines);
	free(s->path);
	free(s);
	*sp = NULL;
}

/* ---- what they mean ---- */

bool scene_say(const struct scene_verb *verbs, size_t n, void *ctx, int argc,
	char **argv, char *why, size_t cap)
{
	size_t i;

	if (argc < 1)
		return scene_bad(why, cap, "a word is missing");
	for (i = 0; i < n; i++) {
		const struct scene_verb *v = &verbs[i];

		if (strcmp(v->name, argv[0]) != 0)
			continue;
		if (argc - 1 < v->least || (v->most >= 0 && argc - 1 > v->most))
			return scene_bad(why, cap, "%s: wrong number of words: %d",
				v->name, argc - 1);
		return v->say(ctx, argc - 1, argv + 1, why, cap);
	}
	return scene_bad(why, cap, "there is no \"%s\" here", argv[0]);
}

bool scene_number(const char *word, unsigned *out)
{
	unsigned long v;
	char *end;

	if (*word < '0' || *word > '9')
		return false;
	v = strtoul(word, &end, 10);
	*out = (unsigned)v;
	return !*end && v <= UINT_MAX;
}

bool scene_is(const char *word, const char *name, const char **value)
{
	size_t n = strlen(name);

	*value = NULL;
	if (strncmp(word, name, n) != 0 || (word[n] && word[n] != '='))
		return false;
	if (word[n])
		*value = word + n + 1;
	return true;
}

bool scene_pick(const char *word, void (*each)(void *ctx, const struct scene_pick *p),
	void *ctx, char *why, size_t cap)
{
	struct scene_pick p = { .times = 1 };
	unsigned long last;
	char *end;

	if (strcmp(word, "none") == 0)
		return true;
	last = p.number = (unsigned)strtoul(word, &end, 10);
	if (end != word && strncmp(end, "..", 2) == 0)
		last = strtoul(end + 2, &end, 10);
	if (*end == 'x')
		p.times = (unsigned)strtoul(end + 1, &end, 10);
	p.changed = *end == '~';
	end += p.changed;
	if (*end || !p.number || last < p.number || last > 1000000)
		return scene_bad(
			why, cap, "\"%s\" is not like 3, 1..5, 3x2, 3~ or none", word);
	for (; p.number <= last; p.number++)
		each(ctx, &p);
	return true;
}

bool scene_compare(const char *what, unsigned long got, int argc, char **argv,
	char *why, size_t cap)
{
	const char *op = argc == 2 ? argv[0] : "=";
	unsigned want;
	bool ok;

	if (argc < 1 || argc > 2 || !scene_number(argv[argc - 1], &want))
		return scene_bad(why, cap, "%s: expected [OP] NUMBER", what);
	if (strcmp(op, "=") == 0)
		ok = got == want;
	else if (strcmp(op, "<") == 0)
		ok = got < want;
	else if (strcmp(op, "<=") == 0)
		ok = got <= want;
	else if (strcmp(op, ">") == 0)
		ok = got > want;
	else if (strcmp(op, ">=") == 0)
		ok = got >= want;
	else
		return scene_bad(
			why, cap, "%s: \"%s\" is none of = < <= > >=", what, op);
	return ok || scene_bad(why, cap, "%s: %lu, not %s %u", what, got, op, want);
}
