/* html.c: the text of HTML mail, by a state machine that takes anything. */
#include <popferry/mem.h>
#include <popferry/mime.h>

#include <stdlib.h>
#include <string.h>

enum { NAME = 16, ENTITY = 12, OUT = 1024 };

enum state {
	IN_TEXT,
	IN_ENTITY,
	AT_OPEN, /* behind a "<" */
	IN_NAME,
	IN_TAG,
	IN_QUOTES,
	IN_COMMENT,
	IN_DECLARATION,
	IN_RAW, /* a script or style, up to its end tag */
};

struct html {
	enum state state;
	mail_take *take;
	void *ctx;
	char name[NAME];
	size_t name_n;
	bool closing;
	char quote;
	char entity[ENTITY];
	size_t entity_n;
	unsigned dashes; /* of a comment's start, or its end */
	char raw[NAME];  /* the element whose text is none */
	size_t matched;  /* of "</" and its name */
	char out[OUT];
	size_t out_n;
	char gap; /* a blank or LF that goes before the next character; 0: none */
	bool any; /* something went out */
};

static void flush(struct html *h)
{
	if (h->out_n)
		h->take(h->ctx, h->out, h->out_n);
	h->out_n = 0;
}

static void add(struct html *h, char c)
{
	if (h->out_n == OUT)
		flush(h);
	h->out[h->out_n++] = c;
}

/* Blanks in a row are one, and none stand at the start and end. */
static void out(struct html *h, char c)
{
	if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
		if (!h->gap)
			h->gap = ' ';
		return;
	}
	if (h->gap && h->any)
		add(h, h->gap);
	h->gap = 0;
	h->any = true;
	add(h, c);
}

static void out_utf8(struct html *h, uint32_t c)
{
	if (c < 0x80) {
		out(h, (char)c);
	} else if (c < 0x800) {
		out(h, (char)(0xc0 | c >> 6));
		out(h, (char)(0x80 | (c & 0x3f)));
	} else if (c < 0x10000) {
		out(h, (char)(0xe0 | c >> 12));
		out(h, (char)(0x80 | (c >> 6 & 0x3f)));
		out(h, (char)(0x80 | (c & 0x3f)));
	} else {
		out(h, (char)(0xf0 | c >> 18));
		out(h, (char)(0x80 | (c >> 12 & 0x3f)));
		out(h, (char)(0x80 | (c >> 6 & 0x3f)));
		out(h, (char)(0x80 | (c & 0x3f)));
	}
}

/* ---- &amp; ---- */

/* Of Latin 1, from U+00A0 on. */
static const char *const latin[] = { "nbsp", "iexcl", "cent", "pound", "curren", "yen",
	"brvbar", "sect", "uml", "copy", "ordf", "laquo", "not", "shy", "reg", "macr",
	"deg", "plusmn", "sup2", "sup3", "acute", "micro", "para", "middot", "cedil",
	"sup1", "ordm", "raquo", "frac14", "frac12", "frac34", "iquest", "Agrave",
	"Aacute", "Acirc", "Atilde", "Auml", "Aring", "AElig", "Ccedil", "Egrave",
	"Eacute", "Ecirc", "Euml", "Igrave", "Iacute", "Icirc", "Iuml", "ETH", "Ntilde",
	"Ograve", "Oacute", "Ocirc", "Otilde", "Ouml", "times", "Oslash", "Ugrave",
	"Uacute", "Ucirc", "Uuml", "Yacute", "THORN", "szlig", "agrave", "aacute",
	"acirc", "atilde", "auml", "aring", "aelig", "ccedil", "egrave", "eacute",
	"ecirc", "euml", "igrave", "iacute", "icirc", "iuml", "eth", "ntilde", "ograve",
	"oacute", "ocirc", "otilde", "ouml", "divide", "oslash", "ugrave", "uacute",
	"ucirc", "uuml", "yacute", "thorn", "yuml" };

static const struct {
	const char *name;
	uint32_t c;
} others[] = { { "amp", '&' }, { "lt", '<' }, { "gt", '>' }, { "quot", '"' },
	{ "apos", '\'' }, { "euro", 0x20ac }, { "ndash", 0x2013 }, { "mdash", 0x2014 },
	{ "lsquo", 0x2018 }, { "rsquo", 0x2019 }, { "ldquo", 0x201c },
	{ "rdquo", 0x201d }, { "bdquo", 0x201e }, { "hellip", 0x2026 },
	{ "bull", 0x2022 }, { "trade", 0x2122 }, { "Scaron", 0x160 },
	{ "scaron", 0x161 }, { "OElig", 0x152 }, { "oelig", 0x153 }, { "zwnj", 0x200c },
	{ "zwj", 0x200d } };

static uint32_t numeric(const char *s)
{
	bool hex = *s == 'x' || *s == 'X';
	unsigned long c;
	char *end;

	s += hex;
	c = strtoul(s, &end, hex ? 16 : 10);
	if (end == s || *end || *s == '-' || *s == '+' || c > 0x10ffff ||
		(c >= 0xd800 && c < 0xe000))
		return 0;
	return c < ' ' ? ' ' : (uint32_t)c;
}

static uint32_t named(const char *s)
{
	size_t i;

	for (i = 0; i < N_ELEMENTS(others); i++)
		if (strcmp(s, others[i].name) == 0)
			return others[i].c;
	for (i = 0; i < N_ELEMENTS(latin); i++)
		if (strcmp(s, latin[i]) == 0)
			return (uint32_t)(0xa0 + i);
	return 0;
}

/* What is none stands for itself. */
static bool end_entity(struct html *h)
{
	uint32_t c;
	size_t i;

	h->entity[h->entity_n] = '\0';
	c = h->entity[0] == '#' ? numeric(h->entity + 1) : named(h->entity);
	h->state = IN_TEXT;
	if (c == 0xad) /* a soft hyphen is within a word */
		return true;
	if (c) {
		out_utf8(h, c == 0xa0 ? ' ' : c);
		return true;
	}
	out(h, '&');
	for (i = 0; i < h->entity_n; i++)
		out(h, h->entity[i]);
	return false;
}

/* ---- <tags> ---- */

static bool is(const struct html *h, const char *const *names, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (strcmp(h->name, names[i]) == 0)
			return true;
	return false;
}

/* All others part words. */
static void part_words(struct html *h)
{
	static const char *const within[] = { "a", "abbr", "acronym", "b", "bdo", "big",
		"cite", "code", "del", "dfn", "em", "font", "i", "ins", "kbd", "label",
		"mark", "o:p", "q", "s", "samp", "small", "span", "strike", "strong",
		"sub", "sup", "tt", "u", "var", "wbr" };

	if (!is(h, within, N_ELEMENTS(within)))
		h->gap = '\n';
}

static void end_tag(struct html *h)
{
	static const char *const raw[] = { "script", "style" };

	part_words(h);
	h->state = IN_TEXT;
	if (h->closing || !is(h, raw, N_ELEMENTS(raw)))
		return;
	memcpy(h->raw, h->name, NAME);
	h->matched = 0;
	h->state = IN_RAW;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_letter(char c)
{
	c = lower(c);
	return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void put_text(struct html *h, char c)
{
	if (c == '<') {
		h->state = AT_OPEN;
		h->closing = false;
		h->name_n = 0;
	} else if (c == '&') {
		h->state = IN_ENTITY;
		h->entity_n = 0;
	} else {
		out(h, c);
	}
}

static void put_entity(struct html *h, char c)
{
	bool fits = is_letter(c) || is_digit(c) || (c == '#' && h->entity_n == 0);

	if (fits && h->entity_n < ENTITY - 1) {
		h->entity[h->entity_n++] = c;
		return;
	}
	if (!end_entity(h) || c != ';')
		put_text(h, c);
}

static void put_open(struct html *h, char c)
{
	if (c == '/' && !h->closing) {
		h->closing = true;
	} else if (is_letter(c)) {
		h->name[h->name_n++] = lower(c);
		h->state = IN_NAME;
	} else if (c == '!' || c == '?' || h->closing) {
		h->state = c == '>' ? IN_TEXT : IN_DECLARATION;
		h->dashes = c == '!' ? 0 : 2;
	} else {
		out(h, '<'); /* "a < b" */
		h->state = IN_TEXT;
		put_text(h, c);
	}
}

static void put_tag(struct html *h, char c)
{
	if (c == '>')
		end_tag(h);
	else if (c == '"' || c == '\'') {
		h->quote = c;
		h->state = IN_QUOTES;
	}
}

static void put_name(struct html *h, char c)
{
	if (is_letter(c) || is_digit(c) || c == ':' || c == '-') {
		if (h->name_n < NAME - 1)
			h->name[h->name_n++] = lower(c);
		return;
	}
	h->name[h->name_n] = '\0';
	h->state = IN_TAG;
	put_tag(h, c);
}

/* "<!--" up to "-->"; "<!anything" up to ">". */
static void put_declaration(struct html *h, char c)
{
	if (h->dashes < 2 && c == '-') {
		if (++h->dashes == 2) {
			h->state = IN_COMMENT; /* "<!-->" is all of one */
		}
		return;
	}
	h->dashes = 2;
	if (c == '>')
		h->state = IN_TEXT;
}

static void put_comment(struct html *h, char c)
{
	if (c == '>' && h->dashes >= 2)
		h->state = IN_TEXT;
	h->dashes = c == '-' ? h->dashes + 1 : 0;
}

static void put_raw(struct html *h, char c)
{
	size_t n = strlen(h->raw);

	if (h->matched == n + 2 && !is_letter(c) && !is_digit(c)) {
		memcpy(h->name, h->raw, NAME);
		h->closing = true;
		h->state = IN_TAG;
		put_tag(h, c);
		return;
	}
	if (h->matched < n + 2 &&
		lower(c) ==
			(h->matched == 0                  ? '<'
					: h->matched == 1 ? '/'
							  : h->raw[h->matched - 2]))
		h->matched++;
	else
		h->matched = c == '<';
}

void html_begin(struct html **hp, mail_take *take, void *ctx)
{
	struct html *h = xcalloc(1, sizeof(*h));

	h->take = take;
	h->ctx = ctx;
	*hp = h;
}

void html_put(void *ctx, const char *p, size_t n)
{
	static void (*const put[])(struct html *, char) = {
		[IN_TEXT] = put_text,
		[IN_ENTITY] = put_entity,
		[AT_OPEN] = put_open,
		[IN_NAME] = put_name,
		[IN_TAG] = put_tag,
		[IN_COMMENT] = put_comment,
		[IN_DECLARATION] = put_declaration,
		[IN_RAW] = put_raw,
	};
	struct html *h = ctx;
	size_t i;

	for (i = 0; i < n; i++)
		if (h->state != IN_QUOTES)
			put[h->state](h, p[i]);
		else if (p[i] == h->quote)
			h->state = IN_TAG;
}

void html_end(struct html **hp)
{
	struct html *h = *hp;

	if (!h)
		return;
	if (h->state == IN_ENTITY)
		end_entity(h);
	flush(h);
	free(h);
	*hp = NULL;
}
