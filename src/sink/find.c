/*
 * find.c: is this message in the folder already, as it is or in another form?
 *
 * Candidates (table.c) have the same From, Date, Subject, To, Cc and List-Id, or the
 * same Message-ID; then the content is fetched and decides.
 */
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/log.h>

#include "alike.h"
#include "table.h"

#include <stdlib.h>
#include <string.h>

enum {
	GROWING_MS = 60000, /* a folder that grows is watched so long for one message */
};

/* ---- comparing ---- */

/* What is looked for: a message as it is, or a form of it. */
struct sought {
	const struct message *message;
	const struct facts *facts;
	enum rescue form;
	bool doubtful; /* it was sent, and may have been stored */
	unsigned
		owned; /* so many copies belong to others, though we cannot say which */
	bool tolerant; /* a copy that the server rewrote will do, */
	bool alone;    /* whatever it did to the text */
	/* Of the body without what servers change, once it was asked for. */
	bool squeezed;
	unsigned char body[DIGEST];
	/* And of all of it in plain, where that is not its exact digest. */
	bool odd;
	unsigned char plain[DIGEST];
};

/* Of the message itself: a form has nothing odd in it. */
static enum status plain_ours(struct sought *w, struct err *err)
{
	struct plain q = { 0 };
	char block[16 * 1024];
	uint64_t off = 0;
	enum status rc;
	const char *p;
	size_t n;

	w->odd = w->facts->anomalies & (AN_NUL | AN_BARE_CR);
	if (!w->odd)
		return ST_OK;
	facts_begin(&q.out);
	do {
		rc = body_read(
			w->message->body, off, block, sizeof(block), &p, &n, err);
		if (rc == ST_OK)
			plain_put(&q, p, n);
		off += n;
	} while (rc == ST_OK && n);
	plain_end(&q, w->plain);
	return rc;
}

static enum status squeeze_ours(struct sought *w, struct err *err)
{
	struct squeeze q = { 0 };
	char block[16 * 1024];
	struct wire wire;
	enum status rc;
	const char *p;
	size_t n;

	if (w->squeezed)
		return ST_OK;
	facts_begin(&q.out);
	wire_begin(&wire, w->message);
	while ((rc = wire_next(&wire, block, sizeof(block), &p, &n, err)) == ST_OK && n)
		squeeze_put(&q, p, n);
	squeeze_end(&q, w->body);
	w->squeezed = rc == ST_OK;
	return rc;
}

struct fetched {
	struct facts_maker *facts;
	struct squeeze squeeze;
	struct plain plain;
};

static void feed(void *ctx, const char *p, size_t n)
{
	struct fetched *f = ctx;

	facts_put(f->facts, p, n);
	if (f->squeeze.out)
		squeeze_put(&f->squeeze, p, n);
	if (f->plain.out)
		plain_put(&f->plain, p, n);
}

/*
 * What is only near may be another message's. Without a put in doubt that is found out
 * too late, where messages count as different that are so near.
 */
static bool is_ours(
	const struct imap_sink *s, const struct sought *w, const struct facts *theirs)
{
	bool strict = s->dedup == DEDUP_EXACT || s->dedup == DEDUP_NONE ||
		!w->facts->has_msgid;

	if (strict && (!w->doubtful || !alike_trace(w->facts, theirs)))
		return false;
	return !s->rival || !s->rival(s->ask_ctx, &w->message->facts, theirs);
}

/* What the entry is; and *rewritten: not as it was sent. */
static enum status compare(struct imap_sink *s, struct sought *w, struct entry *e,
	enum likeness *out, bool *rewritten, struct err *err)
{
	enum status rc = w->tolerant ? squeeze_ours(w, err) : ST_OK;
	unsigned char body[DIGEST] = { 0 }, plain[DIGEST] = { 0 };
	struct fetched f = { 0 };
	struct facts theirs;

	*out = ALIKE_NOT;
	if (rc != ST_OK)
		return rc;
	facts_begin(&f.facts);
	if (w->tolerant)
		facts_begin(&f.squeeze.out);
	if (w->odd)
		facts_begin(&f.plain.out);
	rc = imap_fetch(s->imap, e->uid, feed, &f, err);
	if (w->tolerant)
		squeeze_end(&f.squeeze, body);
	if (w->odd)
		plain_end(&f.plain, plain);
	facts_end(&f.facts, &theirs);
	if (rc == ST_OK && w->odd && memcmp(w->plain, plain, DIGEST) == 0)
		*out = ALIKE_SAME;
	else if (rc == ST_OK && !w->tolerant)
		*out = alike_same(s->dedup, w->facts, &theirs);
	else if (rc == ST_OK &&
		alike_rewritten(w->facts, &theirs, memcmp(w->body, body, DIGEST) == 0,
			w->alone))
		*out = ALIKE_NEAR;
	if (*out == ALIKE_NEAR && !is_ours(s, w, &theirs))
		*out = ALIKE_NOT;
	*rewritten = w->doubtful && !(w->facts->anomalies & (AN_NUL | AN_BARE_CR)) &&
		memcmp(w->facts->exact, theirs.exact, DIGEST) != 0;
	facts_release(&theirs);
	return rc == ST_SKIP ? ST_OK : rc; /* it went meanwhile */
}

static void take(struct table *t, struct entry *e, struct delivery *d, bool rewritten)
{
	table_keep(t, e, table_key(d->message->facts.exact));
	d->outcome = DELIVERY_STORED;
	d->generation = t->uidvalidity;
	d->place = e->uid;
	d->rewritten = rewritten;
}

/* Goes through one chain: the same is preferred to what is near. ST_OK: found; ST_END:
 * not in it. */
static enum status try_chain(struct imap_sink *s, struct table *t, struct delivery *d,
	struct sought *w, bool by_ident, uint64_t key, uint32_t first, struct err *err)
{
	uint32_t head = table_chain(t, by_ident, key);
	struct entry *e, *near = NULL;
	enum likeness likeness;
	bool rewritten, changed = false;
	enum status rc;

	while ((e = table_next(t, &head, by_ident, key, first))) {
		rc = compare(s, w, e, &likeness, &rewritten, err);
		if (rc != ST_OK)
			return rc;
		if (likeness == ALIKE_NOT)
			continue;
		if (w->owned) {
			table_give(e, table_key(w->facts->exact));
			w->owned--;
			continue;
		}
		if (likeness == ALIKE_SAME) {
			take(t, e, d, rewritten);
			return ST_OK;
		}
		if (!near)
			changed = rewritten;
		if (!near)
			near = e;
	}
	if (!near)
		return ST_END;
	take(t, near, d, changed);
	return ST_OK;
}

/* A server ends the header there; we take the fields that follow for it. */
static bool starts_blank(const struct message *m)
{
	const char *p;
	char first[2];
	size_t n;

	return body_read(m->body, 0, first, sizeof(first), &p, &n, NULL) == ST_OK &&
		n && (*p == '\r' || *p == '\n');
}

/* That of those that have no header in the server's eyes. */
static uint64_t headless(void)
{
	struct facts_maker *fm;
	struct facts none;
	uint64_t ident;

	facts_begin(&fm);
	facts_end(&fm, &none);
	ident = table_key(none.ident);
	facts_release(&none);
	return ident;
}

static enum status look_by_ident(struct imap_sink *s, struct table *t,
	struct delivery *d, struct sought *w, uint32_t first, struct err *err)
{
	enum status rc = try_chain(
		s, t, d, w, true, table_key(w->facts->ident), first, err);

	/* Courier shows no fields of a header that it finds odd. */
	if (rc == ST_END && !w->form && (w->doubtful || starts_blank(w->message)))
		rc = try_chain(s, t, d, w, true, headless(), first, err);
	return rc;
}

static enum status look_by_msgid(struct imap_sink *s, struct table *t,
	struct delivery *d, struct sought *w, uint32_t first, struct err *err)
{
	if (!w->facts->has_msgid)
		return ST_END;
	return try_chain(s, t, d, w, false, table_key(w->facts->msgid), first, err);
}

/* Does anything look like that form from its header? Then it pays to make all of it. */
static enum status form_wanted(struct table *t, const struct message *m,
	enum rescue how, uint32_t first, struct err *err)
{
	struct facts_maker *fm;
	struct facts facts;
	struct buf head;
	uint32_t at;
	enum status rc = rescue_head(how, m, &head, err);

	if (rc == ST_OK) {
		facts_begin(&fm);
		facts_put(fm, buf_str(&head), head.n);
		facts_end(&fm, &facts);
		at = table_chain(t, true, table_key(facts.ident));
		if (!table_next(t, &at, true, table_key(facts.ident), first))
			rc = ST_END;
		facts_release(&facts);
	}
	buf_free(&head);
	return rc;
}

static void put_facts(void *ctx, const char *p, size_t n)
{
	facts_put(ctx, p, n);
}

/* A form is sent when the message itself was refused (rescue.c of the engine). */
static enum status look_form(struct imap_sink *s, struct table *t, struct delivery *d,
	enum rescue how, bool doubtful, uint32_t first, struct err *err)
{
	struct sought w = { .message = d->message, .form = how, .doubtful = doubtful };
	enum status rc = form_wanted(t, d->message, how, first, err);
	struct facts_maker *fm;
	struct facts facts;

	if (rc != ST_OK)
		return rc;
	facts_begin(&fm);
	rc = rescue_write(how, d->message, put_facts, fm, err);
	facts_end(&fm, &facts);
	w.facts = &facts;
	if (rc == ST_OK)
		rc = look_by_ident(s, t, d, &w, first, err);
	if (rc == ST_OK) {
		d->form = how;
		memcpy(d->wire, facts.sha256, DIGEST);
	}
	facts_release(&facts);
	return rc;
}

/*
 * Where equal messages are kept, all of the mailbox is looked at, and UIDs were given
 * anew (quirk Q116), the known copies have no place any more: as many as the
 * journal has of them are not ours.
 */
static unsigned owned_by_others(
	struct imap_sink *s, struct table *t, const struct message *m)
{
	uint64_t key = table_key(m->facts.ident), owner = table_key(m->facts.exact);
	unsigned n, claimed;

	if (s->dedup != DEDUP_NONE || !s->copies)
		return 0;
	n = s->copies(s->ask_ctx, &m->facts);
	claimed = table_owned(t, key, owner);
	if (starts_blank(m) && headless() != key)
		claimed += table_owned(t, headless(), owner);
	return n > claimed ? n - claimed : 0;
}

static enum status look_crossed(struct imap_sink *s, struct table *t,
	struct delivery *d, struct sought *w, uint32_t first, struct err *err)
{
	struct facts crossed = *w->facts;
	enum status rc = alike_crossed(w->message, crossed.ident, err);

	w->facts = &crossed;
	if (rc == ST_OK)
		rc = try_chain(s, t, d, w, true, table_key(crossed.ident), first, err);
	w->facts = &w->message->facts;
	return rc;
}

/* Below a floor of this generation a put may have got through, and nothing older is
 * seen. */
static enum status look(struct imap_sink *s, struct table *t, struct delivery *d,
	const struct sink_floor *from, uint32_t first, struct err *err)
{
	bool doubtful = from->generation && from->generation == t->uidvalidity;
	struct sought w = { .message = d->message,
		.facts = &d->message->facts,
		.doubtful = doubtful,
		.owned = doubtful ? 0 : owned_by_others(s, t, d->message),
		.form = d->form };
	enum status rc = plain_ours(&w, err);
	enum rescue how;

	if (rc == ST_OK)
		rc = look_by_ident(s, t, d, &w, first, err);

	for (how = RESCUE_REPAIR; rc == ST_END && !d->form && how <= RESCUE_WRAP; how++)
		rc = look_form(s, t, d, how, doubtful, first, err);
	if (rc == ST_END && (w.facts->anomalies & AN_8BIT_HEADER))
		rc = look_by_msgid(s, t, d, &w, first, err);
	if (rc == ST_END && s->dedup == DEDUP_MESSAGE_ID_ONLY) {
		rc = look_by_msgid(s, t, d, &w, first, err);
		if (rc == ST_OK)
			log_warn(s->log, "dropped-by-message-id",
				LOG_U("number", d->number), LOG_S("folder", d->folder),
				LOG_U("uid", d->place));
	}
	if (rc == ST_END && doubtful) {
		w.tolerant = true;
		w.alone = s->alone && s->alone(s->ask_ctx, w.facts);
		rc = look_by_ident(s, t, d, &w, first, err);
		if (rc == ST_END)
			rc = look_by_msgid(s, t, d, &w, first, err);
		if (rc == ST_END && !d->form && (w.facts->anomalies & AN_8BIT_HEADER))
			rc = look_crossed(s, t, d, &w, first, err);
	}
	if (rc == ST_OK && d->rewritten)
		log_warn(s->log, "altered-by-server", LOG_S("folder", d->folder),
			LOG_U("uid", d->place));
	return rc;
}

/* A fresh look at the mailbox, and what is new in it. */
static enum status look_again(struct imap_sink *s, struct table *t,
	const struct imap_mailbox *mb, uint32_t first, int64_t patience,
	struct err *err)
{
	int64_t now = clock_ms();
	enum status rc = imap_reselect(s->imap, mb, err);
	uint32_t upto = t->upto;

	if (rc != ST_OK)
		return rc;
	t->viewed = now;
	/* Unless it is another mailbox now, only what came is read. */
	if (t->uidvalidity == mb->uidvalidity && t->upto)
		first = t->upto;
	rc = table_read(s, t, mb, first, err);
	if (rc == ST_OK && upto && t->upto > upto)
		t->quiet = now + (patience > s->look_ms ? patience : s->look_ms);
	return rc;
}

enum status imap_table_find(struct imap_sink *s, struct delivery *d,
	const struct sink_floor *from, int64_t until_ms, struct err *err)
{
	int64_t now = clock_ms(), until = until_ms, last = now + GROWING_MS, left;
	const struct imap_mailbox *mb;
	bool unsaid = d->unsaid;
	struct table *t;
	uint32_t first;
	enum status rc;

	d->rewritten = false;
	rc = imap_folder(s->imap, d->folder, &mb, err);
	if (rc == ST_OK)
		rc = imap_select(s->imap, mb, err);
	if (rc != ST_OK)
		return rc;
	t = table_of(s, mb);
	for (;;) {
		/* Another generation: the whole mailbox is the window. */
		first = from->generation == mb->uidvalidity && from->next
			? (uint32_t)from->next
			: 1;
		if (!t->upto || first < t->from || t->uidvalidity != mb->uidvalidity)
			rc = table_read(s, t, mb, first, err);
		if (rc == ST_OK)
			rc = look(s, t, d, from, first, err);
		if (rc == ST_OK) {
			s->unsaid += unsaid;
			d->altered = imap_altered(d->message);
		}
		/* What was looked at must be as young as the patience is long; and a
		 * server that stores one after the other of what an earlier connection
		 * sent is not done yet (Q111). */
		if (until < t->quiet)
			until = t->quiet < last ? t->quiet : last;
		if (rc != ST_END || t->viewed >= until)
			return rc;
		left = until - clock_ms();
		log_debug(s->log, "settling", LOG_S("folder", d->folder),
			LOG_U("left_ms", (uint64_t)(left > 0 ? left : 0)));
		if (left > 0)
			clock_sleep(left < s->look_ms ? left : s->look_ms);
		rc = look_again(s, t, mb, first, until_ms - now, err);
		if (rc != ST_OK)
			return rc;
	}
}
