/*
 * soak_model.h: what t_soak.c knows by itself: random mail, and of each kind of equal
 * messages how many copies there may be at a destination, at least and at most.
 *
 * Messages come in families, which share a word in the subject, so that a server that
 * dislikes one dislikes its twins too. Within a family they are the same to some
 * ways of dedup and not to others: that is its classes.
 *
 * cmocka must be included before.
 */
#ifndef SOAK_MODEL_H
#define SOAK_MODEL_H

#include "sweep_kit.h"

enum { LETTERS_MAX = 160, ITEMS_MAX = 160, BIG = 70 * 1024 };

struct letter {
	char *text, *wire; /* as the source has it; as IMAP forces it */
	unsigned family;
	unsigned by_id, by_content, exact; /* classes: the number of a letter */
	bool has_id;
	unsigned foreign; /* copies somebody else put into a folder */
	unsigned kept;    /* of its class, in one listing that was all stored */
};

/* A message of the source, there or gone. */
struct item {
	unsigned letter;
	char uidl[40];
	bool here;
	bool seen;      /* some run may have listed it */
	bool safe;      /* some run has said that it is at the destinations */
	bool doubted;   /* went, or got another UIDL, before that */
	unsigned names; /* UIDLs under which a run may have listed it */
};

struct model {
	uint64_t random;
	enum dedup dedup;
	bool no_uidl;
	unsigned losses; /* of the journal */
	struct letter letters[LETTERS_MAX];
	size_t n_letters;
	struct item items[ITEMS_MAX];
	size_t n_items;
	unsigned uidls; /* given out */
};

/* splitmix64: the same everywhere. */
static inline uint64_t model_random(struct model *m)
{
	uint64_t z = m->random += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static inline unsigned model_below(struct model *m, unsigned n)
{
	return (unsigned)(model_random(m) % n);
}

static inline bool model_chance(struct model *m, unsigned percent)
{
	return model_below(m, 100) < percent;
}

/* ---- mail ---- */

enum kind {
	PLAIN,
	NO_ID,
	EMPTY_ID,
	ODD,
	HEADLESS,
	LARGE,
	TRACE,
	STATUS,
	COLLISION,
	KINDS
};

static inline char *model_wire(const char *text)
{
	struct buf b = BUF_INIT(2 * BIG);
	const char *p;

	for (p = text; *p; p++) {
		if (*p == '\n' && (p == text || p[-1] != '\r'))
			buf_addc(&b, '\r');
		buf_addc(&b, *p);
	}
	return buf_take(&b);
}

static inline void model_write(
	struct buf *b, enum kind kind, unsigned family, unsigned me, bool with_id)
{
	unsigned lines, i;

	if (kind == HEADLESS)
		buf_adds(b, "\r\n");
	buf_addf(b,
		"From: ann@example.org\r\nTo: bob@example.org\r\n"
		"Date: Mon, 1 Jan 2024 10:00:%02u +0000\r\nSubject: fam-%u.%s\r\n",
		family % 60, family, kind == ODD ? " caf\351" : "");
	if (kind == EMPTY_ID)
		buf_adds(b, "Message-ID: <>\r\n");
	else if (with_id)
		buf_addf(b, "Message-ID: <letter-%u@example.org>\r\n", family);
	buf_addf(b, "\r\nThis is (%u).\r\n.\r\n..\r\n" KIT_COMMANDS, me);
	if (kind == ODD)
		buf_addf(b, "bare\nline end, caf\303\251 \377\r\nbare\rreturn\r\n");
	lines = kind == LARGE ? BIG / 70 : me % 7;
	for (i = 0; i < lines; i++)
		buf_addf(b, "%060u\r\n", i);
}

/*
 * A header field in front of it, in which only the way of the message shows, or what a
 * POP3 server adds. No two messages have one size: a UIDL may be used again (quirk
 * Q12).
 */
static inline char *model_top(const char *field, unsigned me, const char *rest)
{
	struct buf b = BUF_INIT(2 * BIG);
	size_t n = strlen(rest);

	buf_addf(&b, "%s: by relay-%u.example ", field, me);
	while ((b.n + n + 2) % 512 != me)
		buf_addc(&b, 'x');
	buf_addf(&b, "\r\n%s", rest);
	return buf_take(&b);
}

static inline enum kind model_kind(struct model *m)
{
	static const unsigned char weights[KINDS] = { 30, 10, 10, 10, 5, 5, 10, 10,
		10 };
	unsigned kind = 0, at = model_below(m, 100);

	while (at >= weights[kind])
		at -= weights[kind++];
	return kind >= TRACE && !m->n_letters ? PLAIN : (enum kind)kind;
}

/* A twin of o, which is the first of its family. */
static inline void model_twin(
	struct letter *l, const struct letter *o, enum kind kind, unsigned me)
{
	struct buf b = BUF_INIT(2 * BIG);

	l->family = o->family;
	l->has_id = o->has_id;
	if (kind == STATUS || o->has_id)
		l->by_id = o->by_id;
	if (kind == STATUS || (kind == TRACE && o->has_id))
		l->by_content = o->by_content;
	if (kind == STATUS)
		l->exact = o->exact;
	if (kind == COLLISION) {
		model_write(&b, kind, o->family, me, o->has_id);
		l->text = model_top("Received", me, b.p);
	} else {
		l->text = model_top(
			kind == STATUS ? "X-UIDL" : "Received", me, o->text);
	}
	buf_free(&b);
}

/* A new message, or a twin of an older one. */
static inline unsigned model_letter(struct model *m)
{
	unsigned me = (unsigned)m->n_letters, old;
	enum kind kind = model_kind(m);
	struct letter *l = &m->letters[me];
	struct buf b = BUF_INIT(2 * BIG);

	if (me == LETTERS_MAX)
		return model_below(m, LETTERS_MAX);
	*l = (struct letter){
		.family = me, .by_id = me, .by_content = me, .exact = me
	};
	old = kind >= TRACE ? m->letters[model_below(m, me)].family : me;
	/* A twin of one without header would have one. */
	if (old != me && m->letters[old].text[0] == '\r')
		kind = PLAIN;
	if (kind >= TRACE) {
		model_twin(l, &m->letters[old], kind, me);
	} else {
		l->has_id = kind == PLAIN || kind == ODD || kind == LARGE;
		model_write(&b, kind, me, me, l->has_id);
		while (kind == HEADLESS && (b.n + 2) % 512 != me)
			buf_addc(&b, 'x');
		if (kind == HEADLESS)
			buf_adds(&b, "\r\n");
		l->text = kind == HEADLESS ? xstrdup(b.p)
					   : model_top("Received", me, b.p);
	}
	buf_free(&b);
	l->wire = model_wire(l->text);
	m->n_letters++;
	return me;
}

static inline void model_free(struct model *m)
{
	size_t i;

	for (i = 0; i < m->n_letters; i++) {
		free(m->letters[i].text);
		free(m->letters[i].wire);
	}
	m->n_letters = m->n_items = 0;
}

/* ---- the source ---- */

static inline void model_add(struct model *m)
{
	struct item *it;

	if (m->n_items == ITEMS_MAX)
		return;
	it = &m->items[m->n_items];
	*it = (struct item){ .here = true };
	it->letter = m->n_letters && model_chance(m, 20)
		? model_below(m, (unsigned)m->n_letters)
		: model_letter(m);
	snprintf(it->uidl, sizeof(it->uidl), "u%u", m->uidls++);
	m->n_items++;
}

/* A run begins: what is here may be listed. */
static inline void model_listed(struct model *m)
{
	size_t i;

	for (i = 0; i < m->n_items; i++) {
		struct item *it = &m->items[i];

		if (it->here && !it->seen) {
			it->seen = true;
			it->names++;
		}
	}
}

static inline size_t model_here(const struct model *m)
{
	size_t i, n = 0;

	for (i = 0; i < m->n_items; i++)
		n += m->items[i].here;
	return n;
}

/* What was under way with it, nobody will ask for under this name again. */
static inline void model_leave(struct item *it)
{
	it->doubted |= it->seen && !it->safe;
}

static inline void model_remove(struct item *it)
{
	model_leave(it);
	it->here = false;
}

/* All UIDLs are others now. */
static inline void model_rename(struct model *m)
{
	size_t i;

	for (i = 0; i < m->n_items; i++) {
		model_leave(&m->items[i]);
		m->items[i].seen = false;
		snprintf(m->items[i].uidl, sizeof(m->items[i].uidl), "r%u", m->uidls++);
	}
}

/* ---- what must be there ---- */

static inline unsigned model_class(const struct model *m, const struct letter *l)
{
	switch (m->dedup) {
	case DEDUP_MESSAGE_ID_ONLY:
		return l->by_id;
	case DEDUP_MESSAGE_ID:
		return l->by_content;
	default:
		return l->exact;
	}
}

/* A run has said 0. whole: it has seen all of it in one listing. */
static inline void model_safe(struct model *m, bool whole)
{
	unsigned n[LETTERS_MAX] = { 0 }, k;
	size_t i;

	for (i = 0; i < m->n_items; i++) {
		const struct item *it = &m->items[i];

		m->items[i].safe |= it->here;
		n[model_class(m, &m->letters[it->letter])] += it->here;
	}
	for (k = 0; whole && k < m->n_letters; k++)
		if (m->letters[k].kept < n[k])
			m->letters[k].kept = n[k];
}

struct bounds {
	unsigned least, most;
};

static inline struct bounds model_bounds(
	const struct model *m, unsigned class, bool archive)
{
	struct bounds b = { 0, 0 };
	bool keeps = m->dedup == DEDUP_NONE, doubted = m->losses > 0, safe = false;
	unsigned names = 0, foreign = 0, k;
	size_t i;

	for (k = 0; k < m->n_letters; k++) {
		if (model_class(m, &m->letters[k]) != class)
			continue;
		for (i = 0; i < m->n_items; i++) {
			const struct item *it = &m->items[i];

			if (it->letter != k)
				continue;
			names += it->names;
			safe |= it->safe;
			doubted |= it->doubted;
		}
		foreign += m->letters[k].foreign;
	}
	/*
	 * With --dedup=none a message under another UIDL is another message; but one
	 * that equals one whose UIDL has gone is that one, under a new UIDL. So there
	 * are as many as were ever listed together, or more. An archive is asked by
	 * UIDL and bytes, so that after the loss of the journal, or when the UIDL went
	 * while the message was in doubt, a twin may come in.
	 */
	if (keeps)
		b.most = names;
	else if (archive && doubted)
		b.most = names;
	else
		b.most = names > 0;
	b.least = keeps ? m->letters[class].kept : safe;
	if (!archive) {
		b.most += foreign;
		if (b.least < foreign)
			b.least = foreign;
	}
	return b;
}

#endif
