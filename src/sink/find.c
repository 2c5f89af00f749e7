/*
 * find.c: is this message in the folder already, as it is or in another form?
 *
 * The folder's headers are read once from the floor on (by FETCH, never by
 * SEARCH, which lies: quirks Q90, Q119) into a table of 40 bytes a message.
 * Candidates have the same From, Date, Subject, To, Cc and List-Id, or the
 * same Message-ID; then the content is fetched and decides. Each UID is given
 * to one message only, so that equal messages stay as many as they were.
 */
#include <popferry/buf.h>
#include <popferry/clock.h>
#include <popferry/log.h>
#include <popferry/mem.h>

#include "alike.h"
#include "imap_sink.h"

#include <stdlib.h>
#include <string.h>

enum { LOOK_AGAIN_MS = 500 };

struct entry {
	uint64_t ident, msgid; /* first bytes of the digests; 0: none */
	uint32_t uid;
	uint32_t next_ident, next_msgid; /* index + 1 */
	bool claimed;
	uint64_t owner; /* first bytes of the exact digest of what it was claimed for */
};

struct finder {
	struct finder *next;
	const struct imap_mailbox *mailbox;
	int64_t viewed; /* clock_ms() of the last fresh look */
	uint32_t uidvalidity;
	uint32_t from, upto; /* UIDs read: from <= uid < upto */
	struct entry *entries;
	size_t n, cap;
	uint32_t *ident_heads, *msgid_heads; /* index + 1; mask + 1 of them */
	size_t mask;
	struct claim {
		uint64_t owner;
		uint32_t uidvalidity, uid;
	} * claims; /* known messages, as they came */
	size_t n_claims, cap_claims;
};

/* Two folder names may mean one mailbox, so the session's mailbox counts. */
static struct finder *finder_of(struct imap_sink *s, const struct imap_mailbox *mb)
{
	struct finder *f;

	for (f = s->finders; f; f = f->next)
		if (f->mailbox == mb)
			return f;
	f = xcalloc(1, sizeof(*f));
	f->mailbox = mb;
	f->next = s->finders;
	s->finders = f;
	return f;
}

static void forget(struct finder *f)
{
	f->n = 0;
	f->from = f->upto = 0;
	free(f->ident_heads);
	free(f->msgid_heads);
	f->ident_heads = f->msgid_heads = NULL;
	f->mask = 0;
}

void imap_finder_free(struct imap_sink *s)
{
	while (s->finders) {
		struct finder *f = s->finders;

		s->finders = f->next;
		forget(f);
		free(f->entries);
		free(f->claims);
		free(f);
	}
}

static uint64_t head_of(const unsigned char digest[DIGEST])
{
	uint64_t h;

	memcpy(&h, digest, sizeof(h));
	return h ? h : 1;
}

/* ---- claims ---- */

static struct entry *entry_of(struct finder *f, uint32_t uid)
{
	size_t lo = 0, hi = f->n;

	/* put_in_order() has sorted the table. */
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (f->entries[mid].uid < uid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < f->n && f->entries[lo].uid == uid ? &f->entries[lo] : NULL;
}

static void add_claim(
	struct finder *f, uint64_t owner, uint32_t uidvalidity, uint32_t uid)
{
	if (f->n_claims == f->cap_claims) {
		f->cap_claims = f->cap_claims ? 2 * f->cap_claims : 256;
		f->claims = xreallocarray(f->claims, f->cap_claims, sizeof(*f->claims));
	}
	f->claims[f->n_claims++] = (struct claim){ owner, uidvalidity, uid };
}

static void own(struct entry *e, uint64_t owner)
{
	e->claimed = true;
	e->owner = owner;
}

void imap_finder_claim(struct imap_sink *s, const struct imap_mailbox *mb,
	uint64_t generation, uint64_t uid, const unsigned char exact[DIGEST])
{
	struct finder *f = finder_of(s, mb);
	struct entry *e;

	/* Which generation is now we may not know yet: link_in() sorts it out. */
	add_claim(f, head_of(exact), (uint32_t)generation, (uint32_t)uid);
	e = f->uidvalidity == generation ? entry_of(f, (uint32_t)uid) : NULL;
	if (e)
		own(e, head_of(exact));
}

/* ---- reading the folder ---- */

static void note(void *ctx, const struct imap_seen *m)
{
	struct finder *f = ctx;
	struct facts_maker *fm;
	struct facts facts;
	struct entry *e;

	if (f->n == f->cap) {
		f->cap = f->cap ? 2 * f->cap : 256;
		f->entries = xreallocarray(f->entries, f->cap, sizeof(*f->entries));
	}
	facts_begin(&fm);
	facts_put(fm, m->header, m->header_n);
	facts_end(&fm, &facts);
	e = &f->entries[f->n++];
	*e = (struct entry){
		.ident = head_of(facts.ident),
		.msgid = facts.has_msgid ? head_of(facts.msgid) : 0,
		.uid = m->uid,
	};
	facts_release(&facts);
}

static int by_uid(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return (x->uid > y->uid) - (x->uid < y->uid);
}

/* Answers that were cut short come from the newest down (quirk Q90), and twice. */
static void put_in_order(struct finder *f, size_t old)
{
	size_t i, n = old;

	if (f->n > old)
		qsort(f->entries + old, f->n - old, sizeof(*f->entries), by_uid);
	for (i = old; i < f->n; i++)
		if (!n || f->entries[i].uid > f->entries[n - 1].uid)
			f->entries[n++] = f->entries[i];
	f->n = n;
}

static void link_in(struct finder *f)
{
	size_t want = 64, i;

	while (want < 2 * f->n)
		want *= 2;
	free(f->ident_heads);
	free(f->msgid_heads);
	f->ident_heads = xcalloc(want, sizeof(*f->ident_heads));
	f->msgid_heads = xcalloc(want, sizeof(*f->msgid_heads));
	f->mask = want - 1;
	/* From the end, so that chains give the oldest message first. */
	for (i = f->n; i-- > 0;) {
		struct entry *e = &f->entries[i];
		uint32_t *head = &f->ident_heads[e->ident & f->mask];

		e->next_ident = *head;
		*head = (uint32_t)i + 1;
		if (!e->msgid)
			continue;
		head = &f->msgid_heads[e->msgid & f->mask];
		e->next_msgid = *head;
		*head = (uint32_t)i + 1;
	}
	for (i = 0; i < f->n_claims; i++) {
		const struct claim *c = &f->claims[i];
		struct entry *e = entry_of(f, c->uid);

		if (e && c->uidvalidity == f->uidvalidity)
			own(e, c->owner);
	}
}

/* Reads what was not read yet, from `first` on. */
static enum status read_on(struct imap_sink *s, struct finder *f,
	const struct imap_mailbox *mb, uint32_t first, struct err *err)
{
	enum status rc;
	size_t old;

	if (f->uidvalidity != mb->uidvalidity) {
		forget(f);
		f->uidvalidity = mb->uidvalidity;
	}
	if (f->upto && first < f->from)
		forget(f);
	if (!f->upto)
		f->from = f->upto = first;
	old = f->n;
	rc = imap_scan(s->imap, f->upto, note, f, err);
	put_in_order(f, old);
	if (rc != ST_OK)
		return rc;
	if (mb->uidnext > f->upto)
		f->upto = mb->uidnext;
	if (f->n && f->entries[f->n - 1].uid >= f->upto)
		f->upto = f->entries[f->n - 1].uid + 1;
	link_in(f);
	return ST_OK;
}

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
 * What is only near may be another message's. Without a put in doubt that is found out too
 * late, where messages count as different that are so near.
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

/* The next entry of a chain that may be it; NULL at its end. */
static struct entry *candidate(
	struct finder *f, uint32_t *head, bool by_ident, uint64_t key, uint32_t first)
{
	while (*head) {
		struct entry *e = &f->entries[*head - 1];

		*head = by_ident ? e->next_ident : e->next_msgid;
		if (!e->claimed && e->uid >= first &&
			(by_ident ? e->ident : e->msgid) == key)
			return e;
	}
	return NULL;
}

static uint32_t chain(const struct finder *f, bool by_ident, uint64_t key)
{
	return (by_ident ? f->ident_heads : f->msgid_heads)[key & f->mask];
}

static void take(struct finder *f, struct entry *e, struct delivery *d, bool rewritten)
{
	own(e, head_of(d->message->facts.exact));
	add_claim(f, e->owner, f->uidvalidity, e->uid); /* for when it is read again */
	d->outcome = DELIVERY_STORED;
	d->generation = f->uidvalidity;
	d->place = e->uid;
	d->rewritten = rewritten;
}

/* Goes through one chain: the same is preferred to what is near. ST_OK: found; ST_END: not in it. */
static enum status try_chain(struct imap_sink *s, struct finder *f, struct delivery *d,
	struct sought *w, bool by_ident, uint64_t key, uint32_t first, struct err *err)
{
	uint32_t head = chain(f, by_ident, key);
	struct entry *e, *near = NULL;
	enum likeness likeness;
	bool rewritten, changed = false;
	enum status rc;

	while ((e = candidate(f, &head, by_ident, key, first))) {
		rc = compare(s, w, e, &likeness, &rewritten, err);
		if (rc != ST_OK)
			return rc;
		if (likeness == ALIKE_NOT)
			continue;
		if (w->owned) {
			own(e, head_of(w->facts->exact));
			w->owned--;
			continue;
		}
		if (likeness == ALIKE_SAME) {
			take(f, e, d, rewritten);
			return ST_OK;
		}
		if (!near)
			changed = rewritten;
		if (!near)
			near = e;
	}
	if (!near)
		return ST_END;
	take(f, near, d, changed);
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
	ident = head_of(none.ident);
	facts_release(&none);
	return ident;
}

static enum status look_by_ident(struct imap_sink *s, struct finder *f,
	struct delivery *d, struct sought *w, uint32_t first, struct err *err)
{
	enum status rc = try_chain(
		s, f, d, w, true, head_of(w->facts->ident), first, err);

	/* Courier shows no fields of a header that it finds odd. */
	if (rc == ST_END && !w->form && (w->doubtful || starts_blank(w->message)))
		rc = try_chain(s, f, d, w, true, headless(), first, err);
	return rc;
}

static enum status look_by_msgid(struct imap_sink *s, struct finder *f,
	struct delivery *d, struct sought *w, uint32_t first, struct err *err)
{
	if (!w->facts->has_msgid)
		return ST_END;
	return try_chain(s, f, d, w, false, head_of(w->facts->msgid), first, err);
}

/* Does anything look like that form from its header? Then it pays to make all of it. */
static enum status form_wanted(struct finder *f, const struct message *m,
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
		at = chain(f, true, head_of(facts.ident));
		if (!candidate(f, &at, true, head_of(facts.ident), first))
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
static enum status look_form(struct imap_sink *s, struct finder *f, struct delivery *d,
	enum rescue how, bool doubtful, uint32_t first, struct err *err)
{
	struct sought w = { .message = d->message, .form = how, .doubtful = doubtful };
	enum status rc = form_wanted(f, d->message, how, first, err);
	struct facts_maker *fm;
	struct facts facts;

	if (rc != ST_OK)
		return rc;
	facts_begin(&fm);
	rc = rescue_write(how, d->message, put_facts, fm, err);
	facts_end(&fm, &facts);
	w.facts = &facts;
	if (rc == ST_OK)
		rc = look_by_ident(s, f, d, &w, first, err);
	if (rc == ST_OK) {
		d->form = how;
		memcpy(d->wire, facts.sha256, DIGEST);
	}
	facts_release(&facts);
	return rc;
}

static unsigned count_owned(const struct finder *f, uint64_t ident, uint64_t owner)
{
	uint32_t at = chain(f, true, ident);
	unsigned n = 0;

	for (; at; at = f->entries[at - 1].next_ident)
		n += f->entries[at - 1].ident == ident &&
			f->entries[at - 1].owner == owner;
	return n;
}

/*
 * Where equal messages are kept, all of the mailbox is looked at, and UIDs were given
 * anew (quirk Q116), the known copies have no place any more: as many as the
 * journal has of them are not ours.
 */
static unsigned owned_by_others(
	struct imap_sink *s, struct finder *f, const struct message *m)
{
	uint64_t key = head_of(m->facts.ident), owner = head_of(m->facts.exact);
	unsigned n, claimed;

	if (s->dedup != DEDUP_NONE || !s->copies)
		return 0;
	n = s->copies(s->ask_ctx, &m->facts);
	claimed = count_owned(f, key, owner);
	if (starts_blank(m) && headless() != key)
		claimed += count_owned(f, headless(), owner);
	return n > claimed ? n - claimed : 0;
}

/* The ident of the message as Cyrus keeps it: with an X for each 8-bit byte of its header. */
static enum status crossed_ident(
	const struct message *m, unsigned char ident[DIGEST], struct err *err)
{
	char block[4096];
	uint64_t off = 0, left = m->facts.header_size;
	enum status rc = ST_OK;
	struct facts_maker *fm;
	struct facts facts;
	const char *p;
	size_t n = 1, k;

	facts_begin(&fm);
	while (left && n) {
		rc = body_read(m->body, off, block, sizeof(block), &p, &n, err);
		if (rc != ST_OK)
			break;
		if (n > sizeof(block))
			n = sizeof(block);
		if (n > left)
			n = (size_t)left;
		memmove(block, p, n);
		for (k = 0; k < n; k++)
			if ((unsigned char)block[k] > 0x7f)
				block[k] = 'X';
		facts_put(fm, block, n);
		off += n;
		left -= n;
	}
	facts_end(&fm, &facts);
	memcpy(ident, facts.ident, DIGEST);
	facts_release(&facts);
	return rc;
}

static enum status look_crossed(struct imap_sink *s, struct finder *f,
	struct delivery *d, struct sought *w, uint32_t first, struct err *err)
{
	struct facts crossed = *w->facts;
	enum status rc = crossed_ident(w->message, crossed.ident, err);

	w->facts = &crossed;
	if (rc == ST_OK)
		rc = try_chain(s, f, d, w, true, head_of(crossed.ident), first, err);
	w->facts = &w->message->facts;
	return rc;
}

/* Below a floor of this generation a put may have got through, and nothing older is seen. */
static enum status look(struct imap_sink *s, struct finder *f, struct delivery *d,
	const struct sink_floor *from, uint32_t first, struct err *err)
{
	bool doubtful = from->generation && from->generation == f->uidvalidity;
	struct sought w = { .message = d->message,
		.facts = &d->message->facts,
		.doubtful = doubtful,
		.owned = doubtful ? 0 : owned_by_others(s, f, d->message),
		.form = d->form };
	enum status rc = plain_ours(&w, err);
	enum rescue how;

	if (rc == ST_OK)
		rc = look_by_ident(s, f, d, &w, first, err);

	for (how = RESCUE_REPAIR; rc == ST_END && !d->form && how <= RESCUE_WRAP; how++)
		rc = look_form(s, f, d, how, doubtful, first, err);
	if (rc == ST_END && (w.facts->anomalies & AN_8BIT_HEADER))
		rc = look_by_msgid(s, f, d, &w, first, err);
	if (rc == ST_END && doubtful) {
		w.tolerant = true;
		w.alone = s->alone && s->alone(s->ask_ctx, w.facts);
		rc = look_by_ident(s, f, d, &w, first, err);
		if (rc == ST_END)
			rc = look_by_msgid(s, f, d, &w, first, err);
		if (rc == ST_END && !d->form && (w.facts->anomalies & AN_8BIT_HEADER))
			rc = look_crossed(s, f, d, &w, first, err);
	}
	if (rc == ST_OK && d->rewritten)
		log_warn(s->log, "altered-by-server", LOG_S("folder", d->folder),
			LOG_U("uid", d->place));
	return rc;
}

/* A fresh look at the mailbox, and what is new in it. */
static enum status look_again(struct imap_sink *s, struct finder *f,
	const struct imap_mailbox *mb, uint32_t first, struct err *err)
{
	int64_t now = clock_ms();
	enum status rc = imap_reselect(s->imap, mb, err);

	if (rc != ST_OK)
		return rc;
	f->viewed = now;
	/* Unless it is another mailbox now, only what came is read. */
	if (f->uidvalidity == mb->uidvalidity && f->upto)
		first = f->upto;
	return read_on(s, f, mb, first, err);
}

enum status imap_finder_find(struct imap_sink *s, struct delivery *d,
	const struct sink_floor *from, int64_t patience_ms, struct err *err)
{
	int64_t until = patience_ms > 0 ? clock_ms() + patience_ms : 0, left;
	const struct imap_mailbox *mb;
	bool unsaid = d->unsaid;
	struct finder *f;
	uint32_t first;
	enum status rc;

	d->rewritten = false;
	rc = imap_folder(s->imap, d->folder, &mb, err);
	if (rc == ST_OK)
		rc = imap_select(s->imap, mb, err);
	if (rc != ST_OK)
		return rc;
	f = finder_of(s, mb);
	for (;;) {
		/* Another generation: the whole mailbox is the window. */
		first = from->generation == mb->uidvalidity && from->next
			? (uint32_t)from->next
			: 1;
		if (!f->upto || first < f->from || f->uidvalidity != mb->uidvalidity)
			rc = read_on(s, f, mb, first, err);
		if (rc == ST_OK)
			rc = look(s, f, d, from, first, err);
		if (rc == ST_OK)
			s->unsaid += unsaid;
		/* What was looked at must be as young as the patience is long. */
		if (rc != ST_END || f->viewed >= until)
			return rc;
		/* The server may still be storing what an earlier connection sent
		 * (Q111). */
		left = until - clock_ms();
		log_debug(s->log, "settling", LOG_S("folder", d->folder),
			LOG_U("left_ms", (uint64_t)(left > 0 ? left : 0)));
		if (left > 0)
			clock_sleep(left < LOOK_AGAIN_MS ? left : LOOK_AGAIN_MS);
		rc = look_again(s, f, mb, first, err);
		if (rc != ST_OK)
			return rc;
	}
}
