/* letter.c: the messages of the POP3 server, as case files describe them. */
#include "fakepop_p.h"
#include "scene.h"

#include <popferry/mem.h>
#include <popferry/text.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 300 * 1024 * 1024 };

/* ---- the standard text, and lines added to it ---- */

void letter_standard(struct buf *b, unsigned number)
{
	unsigned i;

	buf_addf(b,
		"Received: by relay.example; Mon, 1 Jan 2024 10:00:%02u +0000\r\n"
		"From: ann@example.org\r\nTo: bob@example.org\r\n"
		"Date: Mon, 1 Jan 2024 10:00:%02u +0000\r\nSubject: letter %u\r\n"
		"Message-ID: <letter-%u@example.org>\r\n"
		"\r\nThis is (letter %u).\r\n",
		number % 60, number % 60, number, number, number);
	for (i = 0; i < number % 16; i++)
		buf_adds(b, "so that sizes differ\r\n");
	/* Would be commands, if an IMAP server took them for such. */
	buf_adds(b, "q1 PLANT pwned\r\nq2 SELECT INBOX\r\nend\r\n");
}

static void replace(struct buf *b, size_t at, size_t old, const char *p, size_t n)
{
	struct buf r = BUF_INIT(TEXT_MAX);

	buf_add(&r, b->p, at);
	buf_add(&r, p, n);
	buf_add(&r, b->p + at + old, b->n - at - old);
	buf_free(b);
	*b = r;
}

/* Where the blank line begins; the end when there is none. */
static size_t header_end(const struct buf *b)
{
	const char *p = b->n ? memmem(b->p, b->n, "\r\n\r\n", 4) : NULL;

	return p ? (size_t)(p - b->p) + 2 : b->n;
}

static void add_header(struct buf *b, const char *line, size_t n)
{
	struct buf l = BUF_INIT(TEXT_MAX);

	buf_add(&l, line, n);
	buf_adds(&l, "\r\n");
	replace(b, header_end(b), 0, l.p, l.n);
	buf_free(&l);
}

static void add_line(struct buf *b, const char *line, size_t n)
{
	buf_add(b, line, n);
	buf_adds(b, "\r\n");
}

/* ---- words ---- */

struct draft {
	struct fakepop *p;
	struct letter *l;
	struct buf b;
	const char *value;
	char *why;
	size_t cap;
};

static bool value_number(const struct draft *d, unsigned *out)
{
	return (d->value && scene_number(d->value, out)) ||
		scene_bad(
			d->why, d->cap, "no number: \"%s\"", d->value ? d->value : "");
}

static bool set_body(struct draft *d)
{
	buf_clear(&d->b);
	return buf_adds(&d->b, d->value ? d->value : "");
}

static bool set_header(struct draft *d)
{
	add_header(&d->b, d->value, strlen(d->value));
	return true;
}

static bool set_line(struct draft *d)
{
	add_line(&d->b, d->value, strlen(d->value));
	return true;
}

/* The line of the Message-ID out, or another one in. */
static bool set_id(struct draft *d, const char *line)
{
	const char *p = memmem(d->b.p, d->b.n, "Message-ID:", 11);
	size_t at = p ? (size_t)(p - d->b.p) : 0;
	const char *end = p ? memmem(p, d->b.n - at, "\r\n", 2) : NULL;

	if (!end)
		return scene_bad(d->why, d->cap, "it has no Message-ID");
	replace(&d->b, at, (size_t)(end + 2 - p), line, strlen(line));
	return true;
}

static bool set_noid(struct draft *d)
{
	return set_id(d, "");
}

static bool set_sameid(struct draft *d)
{
	char line[80];
	unsigned k;

	if (!value_number(d, &k))
		return false;
	snprintf(line, sizeof(line), "Message-ID: <letter-%u@example.org>\r\n", k);
	return set_id(d, line);
}

static bool set_sameas(struct draft *d)
{
	const struct letter *other;
	unsigned k;

	if (!value_number(d, &k))
		return false;
	other = fakepop_letter(d->p, k);
	if (!other)
		return scene_bad(d->why, d->cap, "there is no message %u", k);
	buf_clear(&d->b);
	return buf_add(&d->b, other->text, other->n);
}

static bool set_eol(struct draft *d)
{
	static const struct {
		const char *name, *eol;
	} kinds[] = { { "lf", "\n" }, { "cr", "\r" }, { "crcrlf", "\r\r\n" } };
	struct buf r = BUF_INIT(TEXT_MAX);
	size_t i, k;

	for (k = 0; k < N_ELEMENTS(kinds); k++)
		if (d->value && strcmp(kinds[k].name, d->value) == 0)
			break;
	if (k == N_ELEMENTS(kinds))
		return scene_bad(d->why, d->cap, "eol is lf, cr or crcrlf");
	for (i = 0; i < d->b.n; i++) {
		if (d->b.p[i] == '\r' && i + 2 < d->b.n)
			buf_adds(&r, kinds[k].eol);
		else if (d->b.p[i] != '\n' || i + 1 == d->b.n)
			buf_addc(&r, d->b.p[i]);
	}
	buf_free(&d->b);
	d->b = r;
	return true;
}

static bool set_empty(struct draft *d)
{
	buf_clear(&d->b);
	return true;
}

static bool set_headeronly(struct draft *d)
{
	d->b.n = header_end(&d->b);
	return true;
}

static bool set_noheader(struct draft *d)
{
	replace(&d->b, 0, header_end(&d->b), "", 0);
	return true;
}

static bool set_mboxfrom(struct draft *d)
{
	static const char line[] = "From joe@example.org Mon Jan  1 00:00:00 2024\r\n";

	replace(&d->b, 0, 0, line, sizeof(line) - 1);
	return true;
}

static bool set_substitute(struct draft *d)
{
	buf_clear(&d->b);
	return buf_addf(&d->b,
		"From: System Administrator <postmaster@example.org>\r\n"
		"Subject: Retrieval using the IMAP4 protocol failed for the following "
		"message: %u\r\n"
		"Message-ID: <letter-%u@example.org>\r\n\r\n"
		"The server couldn't retrieve the following message:\r\n\r\n"
		"Subject: \"letter %u\"\r\n"
		"The message hasn't been deleted. (letter %u)\r\n",
		d->l->number, d->l->number, d->l->number, d->l->number);
}

static bool set_internaldata(struct draft *d)
{
	buf_clear(&d->b);
	return buf_addf(&d->b,
		"Date: Mon, 1 Jan 2024 10:00:00 +0000\r\n"
		"From: Mail System Internal Data <MAILER-DAEMON@example.org>\r\n"
		"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\r\n"
		"Message-ID: <1704103200@example.org>\r\n"
		"X-IMAP: 1704103200 0000000003\r\nStatus: RO\r\n\r\n"
		"This text is part of the internal format of your mail folder, and is "
		"not\r\na real message.  (letter %u)\r\n",
		d->l->number);
}

static bool set_long(struct draft *d)
{
	static const char some[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
	unsigned n;
	size_t k;

	if (!value_number(d, &n))
		return false;
	for (; n; n -= (unsigned)k) {
		k = n < sizeof(some) - 1 ? n : sizeof(some) - 1;
		buf_add(&d->b, some, k);
	}
	return buf_adds(&d->b, "\r\n");
}

static bool set_size(struct draft *d)
{
	unsigned n;

	if (!value_number(d, &n))
		return false;
	while (d->b.n < n)
		buf_addf(&d->b, "%07zu %060u\r\n", d->b.n, d->l->number);
	return true;
}

static bool set_stuff(struct draft *d)
{
	static const char *const names[] = { "on", "off", "lf", "twice" };
	size_t i;

	for (i = 0; i < N_ELEMENTS(names); i++)
		if (d->value && strcmp(names[i], d->value) == 0) {
			d->l->stuffing = (enum stuffing)i;
			return true;
		}
	return scene_bad(d->why, d->cap, "stuff is on, off, lf or twice");
}

static bool set_term(struct draft *d)
{
	static const char *const names[] = { "ok", "none", "glued", "dotcr", "dotlf",
		"lf", "double", "extra" };
	size_t i;

	for (i = 0; i < N_ELEMENTS(names); i++)
		if (d->value && strcmp(names[i], d->value) == 0) {
			d->l->term = (enum term)i;
			return true;
		}
	return scene_bad(d->why, d->cap, "there is no such end of a message");
}

static bool set_cut(struct draft *d)
{
	unsigned n;

	if (!value_number(d, &n))
		return false;
	d->l->cut = n;
	return d->l->cuts = true;
}

static bool set_times(struct draft *d)
{
	return value_number(d, &d->l->cut_times);
}

static bool set_step(struct draft *d)
{
	return value_number(d, &d->l->cut_step);
}

static bool set_refuse(struct draft *d)
{
	struct rule *r = &d->p->rules[d->p->n_rules];

	if (d->p->n_rules == RULES)
		return scene_bad(d->why, d->cap, "too many rules");
	*r = (struct rule){ .command = POP_RETR,
		.letter = d->l->number,
		.act = ACT_REPLY,
		.text = xasprintf("-ERR %s", d->value ? d->value : "no") };
	d->p->n_rules++;
	return true;
}

/* One line more, which a word in a case file could not hold, or not as briefly. */
static const struct {
	const char *name;
	bool header;
	const char *p;
	size_t n;
} lines[] = {
#define LINE(name, header, text) \
	{ \
		name, header, text, sizeof(text) - 1 \
	}
	LINE("nul", false, "a\0b\0"),
	LINE("nulheader", true, "X-Nul: a\0b"),
	LINE("barelf", false, "one\ntwo\n.\nthree"),
	LINE("barecr", false, "one\rtwo\r.\rthree"),
	LINE("crcrlf", false, "one\r\r\ntwo\r"),
	LINE("dots", false, ".\r\n..\r\n...x\r\n\n.x\r\n.\n."),
	LINE("latin1", true, "X-Latin: caf\xe9 \xff"),
	LINE("badheader", true, "this is no header line"),
	LINE("blank", false, ""),
#undef LINE
};

static bool add_special(struct draft *d, const char *name, bool *found)
{
	size_t i;

	*found = false;
	for (i = 0; i < N_ELEMENTS(lines) && !*found; i++) {
		if (strcmp(lines[i].name, name) != 0)
			continue;
		*found = true;
		if (strcmp(name, "blank") == 0)
			buf_clear(&d->b);
		if (lines[i].header)
			add_header(&d->b, lines[i].p, lines[i].n);
		else
			add_line(&d->b, lines[i].p, lines[i].n);
	}
	return *found;
}

static bool draft_word(struct draft *d, const char *word)
{
	static const struct {
		const char *name;
		bool valued;
		bool (*set)(struct draft *d);
	} words[] = {
		{ "body", true, set_body },
		{ "header", true, set_header },
		{ "line", true, set_line },
		{ "noid", false, set_noid },
		{ "sameid", true, set_sameid },
		{ "sameas", true, set_sameas },
		{ "eol", true, set_eol },
		{ "empty", false, set_empty },
		{ "headeronly", false, set_headeronly },
		{ "noheader", false, set_noheader },
		{ "mboxfrom", false, set_mboxfrom },
		{ "substitute", false, set_substitute },
		{ "internaldata", false, set_internaldata },
		{ "long", true, set_long },
		{ "size", true, set_size },
		{ "stuff", true, set_stuff },
		{ "term", true, set_term },
		{ "cut", true, set_cut },
		{ "times", true, set_times },
		{ "step", true, set_step },
		{ "refuse", true, set_refuse },
	};
	bool found;
	size_t i;

	add_special(d, word, &found);
	if (found)
		return true;
	for (i = 0; i < N_ELEMENTS(words); i++)
		if (scene_is(word, words[i].name, &d->value)) {
			if (words[i].valued != !!d->value)
				return scene_bad(d->why, d->cap, "%s: a value %s", word,
					d->value ? "is too much" : "is missing");
			return words[i].set(d);
		}
	return scene_bad(d->why, d->cap, "there is no \"%s\" for a message", word);
}

bool letter_words(struct fakepop *p, struct letter *l, int argc, char **argv, char *why,
	size_t cap)
{
	struct draft d = {
		.p = p, .l = l, .b = BUF_INIT(TEXT_MAX), .why = why, .cap = cap
	};
	bool ok = true;
	int i;

	l->stuffing = STUFF_ON;
	l->term = TERM_OK;
	l->cuts = false;
	l->cut_times = 0;
	letter_standard(&d.b, l->number);
	for (i = 0; ok && i < argc; i++)
		ok = draft_word(&d, argv[i]);
	if (ok)
		fakepop_set_text(l, buf_str(&d.b), d.b.n);
	buf_free(&d.b);
	return ok;
}

/* ---- on the wire ---- */

/* The text as a part of a multipart message whose boundary is always another. */
static void rendered(const struct letter *l, unsigned render, struct buf *b)
{
	struct buf whole = BUF_INIT(TEXT_MAX);
	size_t body;

	buf_add(&whole, l->text, l->n);
	body = header_end(&whole);
	buf_add(b, l->text, body);
	buf_addf(b,
		"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; "
		"boundary=\"=_%u\"\r\n\r\n--=_%u\r\n",
		render, render);
	buf_add(b, l->text + body, l->n - body);
	buf_addf(b, "--=_%u--\r\n", render);
	buf_free(&whole);
}

void letter_bytes(
	const struct letter *l, const struct ways *w, unsigned render, struct buf *b)
{
	if (w->inject && l->taken)
		buf_addf(b, "%s\r\n", w->inject);
	if (w->rerender)
		rendered(l, render, b);
	else
		buf_add(b, l->text, l->n);
}

static void stuff(struct buf *b, const char *p, size_t n, enum stuffing how)
{
	const char *end = p + n, *lf;
	bool start = true;
	size_t k;

	while (p < end) {
		if (*p == '.' && start && how != STUFF_OFF)
			buf_adds(b, how == STUFF_TWICE ? ".." : ".");
		lf = memchr(p, '\n', (size_t)(end - p));
		k = lf ? (size_t)(lf + 1 - p) : (size_t)(end - p);
		buf_add(b, p, k);
		start = how == STUFF_LF || (k > 1 && p[k - 2] == '\r');
		p += k;
	}
}

void letter_wire(struct letter *l, const struct ways *w, struct buf *b)
{
	static const char *const ends[] = { ".\r\n", "", ".\r\n", ".\r", ".\n", ".\n",
		".\r\n.\r\n", ".\r\n\r\n" };
	struct buf bytes = BUF_INIT(TEXT_MAX);
	size_t n;

	letter_bytes(l, w, l->renders++, &bytes);
	n = bytes.n;
	if ((l->term == TERM_GLUED || l->term == TERM_LF) && n >= 2)
		n -= 2;
	stuff(b, buf_str(&bytes), n, l->stuffing);
	if (l->term == TERM_LF)
		buf_addc(b, '\n');
	buf_adds(b, ends[l->term]);
	buf_free(&bytes);
}
