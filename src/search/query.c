/* query.c: queries: words, phrases and conditions, as a tree. */
#include "own.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MATCH_MAX = 32 * 1024 };

struct parser {
	const char *text, *s; /* s: what comes next */
	unsigned terms, depth;
	struct err *err;
};

/* A word or phrase as it stands there. */
struct value {
	const char *at;
	struct buf text;
	bool quoted, prefix;
};

/* ---- trees ---- */

static void node_free(struct node *n)
{
	size_t i;

	if (!n)
		return;
	for (i = 0; i < n->n; i++)
		node_free(n->of[i]);
	for (i = 0; i < n->n_bound; i++)
		free(n->bound[i].p);
	free(n->of);
	free(n->match);
	free(n);
}

static struct node *node_new(enum node_kind kind)
{
	struct node *n = xcalloc(1, sizeof(*n));

	n->kind = kind;
	return n;
}

static void node_add(struct node *n, struct node *child)
{
	n->of = xreallocarray(n->of, n->n + 1, sizeof(*n->of));
	n->of[n->n++] = child;
}

/* One of a kind needs no node above it. */
static struct node *node_simple(struct node *n)
{
	struct node *only;

	if (n->n != 1)
		return n;
	only = n->of[0];
	n->n = 0;
	node_free(n);
	return only;
}

/* ---- reading ---- */

/* Counted in characters, as people do. */
static unsigned position(const struct parser *p, const char *at)
{
	unsigned n = 1;
	const char *s;

	for (s = p->text; s < at; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static struct node *wrong(struct parser *p, const char *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static struct node *wrong(struct parser *p, const char *at, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	err_set(p->err, ST_DENIED, EX_USAGE, "query, character %u: %s", position(p, at),
		text);
	return NULL;
}

static void blanks(struct parser *p)
{
	p->s += strspn(p->s, " \t\r\n");
}

/* AND, OR, NOT, when they stand alone and in capitals. */
static bool keyword(struct parser *p, const char *word)
{
	size_t n = strlen(word);

	if (strncmp(p->s, word, n) != 0 || (p->s[n] && !strchr(" \t\r\n()\"", p->s[n])))
		return false;
	p->s += n;
	blanks(p);
	return true;
}

static bool read_phrase(struct parser *p, struct value *v)
{
	const char *open = p->s++;

	v->quoted = true;
	for (; *p->s != '"'; p->s++) {
		if (*p->s == '\\' && (p->s[1] == '"' || p->s[1] == '\\'))
			p->s++;
		if (!*p->s) {
			wrong(p, open, "this quote is not closed");
			return false;
		}
		buf_addc(&v->text, *p->s);
	}
	p->s++;
	if (*p->s == '*') {
		v->prefix = true;
		p->s++;
	}
	return true;
}

static bool read_value(struct parser *p, struct value *v)
{
	size_t n;

	v->at = p->s;
	if (*p->s == '"')
		return read_phrase(p, v);
	n = strcspn(p->s, " \t\r\n()\"");
	buf_add(&v->text, p->s, n);
	p->s += n;
	return true;
}

/* Is there anything that can be looked for? Only a tokenizer could tell of
 * non-ASCII. */
static bool has_word(const struct buf *b)
{
	size_t i;

	for (i = 0; i < b->n; i++)
		if (isalnum((unsigned char)b->p[i]) || (unsigned char)b->p[i] >= 0x80)
			return true;
	return false;
}

/* column : "the words" * */
static struct node *text_node(struct parser *p, const char *column, struct value *v)
{
	struct buf words = BUF_INIT(MATCH_MAX), match = BUF_INIT(MATCH_MAX);
	struct node *n;
	size_t i;

	if (!v->quoted && v->text.n && v->text.p[v->text.n - 1] == '*') {
		v->prefix = true;
		v->text.p[--v->text.n] = '\0';
	}
	if (!v->quoted && v->text.n && strchr(buf_str(&v->text), '*'))
		return wrong(p, v->at, "a * stands at the end of a word");
	if (!has_word(&v->text))
		return wrong(p, v->at, "a word is needed here");
	words_add(&words, v->text.p, v->text.n);
	if (column)
		buf_addf(&match, "%s : ", column);
	buf_addc(&match, '"');
	for (i = 0; i < words.n; i++) {
		if (words.p[i] == '"')
			buf_addc(&match, '"');
		buf_addc(&match, words.p[i]);
	}
	/* A blank at the end would part the last word from its *. */
	while (v->prefix && match.n && match.p[match.n - 1] == ' ')
		match.p[--match.n] = '\0';
	buf_adds(&match, v->prefix ? "\" *" : "\"");
	n = node_new(NODE_TEXT);
	n->match = buf_take(&match);
	buf_free(&words);
	return n;
}

static struct node *fact_node(
	struct parser *p, const struct field *f, const struct value *v)
{
	struct node *n = node_new(NODE_FACT);

	n->sql = f->sql;
	if (!v->prefix && f->read(n, buf_str(&v->text)))
		return n;
	node_free(n);
	return wrong(p, v->at, "expected %s", f->expected);
}

/* The field before a colon. *bad: there is a name, and it is none. */
static const struct field *field_at(struct parser *p, bool *bad)
{
	const struct field *f;
	size_t n = 0;

	*bad = false;
	while (isalpha((unsigned char)p->s[n]) ||
		(n && strchr("-0123456789", p->s[n]) && p->s[n]))
		n++;
	if (n == 0 || p->s[n] != ':')
		return NULL;
	f = field_find(p->s, n);
	*bad = !f;
	if (f)
		p->s += n + 1;
	return f;
}

static struct node *read_term(struct parser *p)
{
	struct value v = { .text = BUF_INIT(QUERY_MAX) };
	const char *start = p->s;
	const struct field *f;
	struct node *n = NULL;
	bool bad;

	if (++p->terms > QUERY_TERMS)
		return wrong(
			p, start, "more than %d words and conditions", QUERY_TERMS);
	f = field_at(p, &bad);
	if (bad)
		return wrong(p, start,
			"there is no field \"%.*s\" (put it in quotes if it is text)",
			(int)strcspn(start, ":") + 1, start);
	if (f && (!*p->s || strchr(" \t\r\n()", *p->s)))
		return wrong(p, p->s, "%s: needs a value right behind it", f->name);
	if (read_value(p, &v))
		n = f && !f->column ? fact_node(p, f, &v)
				    : text_node(p, f ? f->column : NULL, &v);
	buf_free(&v.text);
	return n;
}

static struct node *read_or(struct parser *p);

static struct node *read_group(struct parser *p)
{
	const char *open = p->s++;
	struct node *n;

	if (++p->depth > QUERY_DEPTH)
		return wrong(
			p, open, "more than %d parentheses in each other", QUERY_DEPTH);
	n = read_or(p);
	p->depth--;
	if (!n)
		return NULL;
	if (*p->s != ')') {
		node_free(n);
		return wrong(p, open, "this parenthesis is not closed");
	}
	p->s++;
	return n;
}

static struct node *read_unary(struct parser *p)
{
	struct node *n, *without;
	const char *at = p->s;
	bool minus = *p->s == '-';

	if (!minus && !keyword(p, "NOT"))
		return *p->s == '(' ? read_group(p) : read_term(p);
	p->s += minus;
	if (!*p->s || strchr(" \t\r\n)-", *p->s))
		return wrong(p, at, "a word is needed behind this");
	if (keyword(p, "NOT"))
		return wrong(p, at, "twice not");
	n = *p->s == '(' ? read_group(p) : read_term(p);
	if (!n)
		return NULL;
	without = node_new(NODE_NOT);
	node_add(without, n);
	return without;
}

static bool at_or(const struct parser *p)
{
	struct parser look = *p;

	return keyword(&look, "OR");
}

static struct node *read_and(struct parser *p)
{
	struct node *n = node_new(NODE_AND), *child;

	blanks(p);
	do {
		if (!*p->s || *p->s == ')' || at_or(p)) {
			node_free(n);
			return wrong(p, p->s, "a word is needed here");
		}
		child = read_unary(p);
		if (!child) {
			node_free(n);
			return NULL;
		}
		node_add(n, child);
		blanks(p);
	} while (keyword(p, "AND") || (*p->s && *p->s != ')' && !at_or(p)));
	return node_simple(n);
}

static struct node *read_or(struct parser *p)
{
	struct node *n = node_new(NODE_OR), *child;

	do {
		child = read_and(p);
		if (!child) {
			node_free(n);
			return NULL;
		}
		node_add(n, child);
	} while (keyword(p, "OR"));
	return node_simple(n);
}

enum status query_parse(struct query **out, const char *text, struct err *err)
{
	struct err why = ERR_INIT;
	struct parser p = { text, text, 0, 0, &why };
	struct node *root;

	*out = NULL;
	if (strlen(text) > QUERY_MAX)
		return err_set(err, ST_DENIED, EX_USAGE,
			"the query is longer than %d bytes", QUERY_MAX);
	blanks(&p);
	if (!*p.s)
		return err_set(err, ST_DENIED, EX_USAGE,
			"the query is empty: give words, or conditions as from:ann");
	root = read_or(&p);
	if (root && *p.s) {
		node_free(root);
		root = wrong(&p, p.s, "this parenthesis was not opened");
	}
	if (!root)
		return err_set(err, why.status, why.exit, "%s", why.text);
	*out = xcalloc(1, sizeof(**out));
	(*out)->root = root;
	return ST_OK;
}

void query_free(struct query **q)
{
	if (*q)
		node_free((*q)->root);
	free(*q);
	*q = NULL;
}
