/*
 * find.c: is this message in the folder already?
 *
 * The folder's headers are read once from the floor on (by FETCH, never by
 * SEARCH, which lies: quirks Q90, Q119) into a table of 32 bytes a message.
 * Candidates have the same From, Date, Subject, To, Cc and List-Id, or the
 * same Message-ID; then the content is fetched and decides. Each UID is given
 * to one message only, so that equal messages stay as many as they were.
 */
#include <popferry/clock.h>
#include <popferry/log.h>
#include <popferry/mem.h>

#include "imap_sink.h"

#include <stdlib.h>
#include <string.h>

enum { LOOK_AGAIN_MS = 500 };

struct entry {
	uint64_t ident, msgid; /* first bytes of the digests; 0: none */
	uint32_t uid;
	uint32_t next_ident, next_msgid; /* index + 1 */
	bool claimed;
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

	/* Scanned in ascending order, so the table is sorted by UID. */
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (f->entries[mid].uid < uid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < f->n && f->entries[lo].uid == uid ? &f->entries[lo] : NULL;
}

static void add_claim(struct finder *f, uint32_t uidvalidity, uint32_t uid)
{
	if (f->n_claims == f->cap_claims) {
		f->cap_claims = f->cap_claims ? 2 * f->cap_claims : 256;
		f->claims = xreallocarray(f->claims, f->cap_claims, sizeof(*f->claims));
	}
	f->claims[f->n_claims++] = (struct claim){ uidvalidity, uid };
}

void imap_finder_claim(struct imap_sink *s, const struct imap_mailbox *mb,
	uint64_t generation, uint64_t uid)
{
	struct finder *f = finder_of(s, mb);
	struct entry *e;

	/* Which generation is now we may not know yet: link_in() sorts it out. */
	add_claim(f, (uint32_t)generation, (uint32_t)uid);
	e = f->uidvalidity == generation ? entry_of(f, (uint32_t)uid) : NULL;
	if (e)
		e->claimed = true;
}

/* ---- reading the folder ---- */

static void note(void *ctx, const struct imap_seen *m)
{
	struct finder *f = ctx;
	struct facts_maker *fm;
	struct facts facts;
	struct entry *e;

	if (f->n && m->uid <= f->entries[f->n - 1].uid)
		return; /* a server that repeats itself */
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
			e->claimed = true;
	}
}

/* Reads what was not read yet, from `first` on. */
static enum status read_on(struct imap_sink *s, struct finder *f,
	const struct imap_mailbox *mb, uint32_t first, struct err *err)
{
	enum status rc;

	if (f->uidvalidity != mb->uidvalidity) {
		forget(f);
		f->uidvalidity = mb->uidvalidity;
	}
	if (f->upto && first < f->from)
		forget(f);
	if (!f->upto)
		f->from = f->upto = first;
	rc = imap_scan(s->imap, f->upto, note, f, err);
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

static void feed(void *ctx, const char *p, size_t n)
{
	facts_put(ctx, p, n);
}

/*
 * Content decides. Where the job keeps messages that differ only in trace
 * headers, so must this; but a server may have had to change a message with
 * NUL, bare CR or 8-bit headers, and then the rest has to do.
 */
static bool same(
	const struct imap_sink *s, const struct facts *ours, const struct facts *theirs)
{
	bool strict = s->dedup == DEDUP_EXACT || s->dedup == DEDUP_NONE ||
		!ours->has_msgid;
	bool changed = ours->anomalies & (AN_NUL | AN_BARE_CR | AN_8BIT_HEADER);

	if (memcmp(ours->exact, theirs->exact, DIGEST) == 0)
		return true;
	if (memcmp(ours->loose, theirs->loose, DIGEST) != 0)
		return false;
	if (memcmp(ours->ident, theirs->ident, DIGEST) == 0)
		return changed || !strict;
	return changed && ours->has_msgid && theirs->has_msgid &&
		memcmp(ours->msgid, theirs->msgid, DIGEST) == 0;
}

static enum status compare(struct imap_sink *s, const struct delivery *d,
	struct entry *e, bool *is_same, struct err *err)
{
	struct facts_maker *fm;
	struct facts theirs;
	enum status rc;

	facts_begin(&fm);
	rc = imap_fetch(s->imap, e->uid, feed, fm, err);
	if (rc != ST_OK) {
		facts_end(&fm, NULL);
		*is_same = false;
		return rc == ST_SKIP ? ST_OK : rc; /* it went meanwhile */
	}
	facts_end(&fm, &theirs);
	*is_same = same(s, &d->message->facts, &theirs);
	facts_release(&theirs);
	return ST_OK;
}

/* Goes through one chain. ST_OK: found; ST_END: not in it. */
static enum status try_chain(struct imap_sink *s, struct finder *f, struct delivery *d,
	uint32_t head, bool by_ident, uint64_t key, uint32_t first, struct err *err)
{
	enum status rc;
	bool is_same;

	while (head) {
		struct entry *e = &f->entries[head - 1];

		head = by_ident ? e->next_ident : e->next_msgid;
		if (e->claimed || e->uid < first ||
			(by_ident ? e->ident : e->msgid) != key)
			continue;
		rc = compare(s, d, e, &is_same, err);
		if (rc != ST_OK)
			return rc;
		if (!is_same)
			continue;
		e->claimed = true;
		add_claim(f, f->uidvalidity, e->uid); /* for when it is read again */
		d->outcome = DELIVERY_STORED;
		d->generation = f->uidvalidity;
		d->place = e->uid;
		return ST_OK;
	}
	return ST_END;
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

/* Among those that have no header in the server's eyes. */
static enum status look_headless(struct imap_sink *s, struct finder *f,
	struct delivery *d, uint32_t first, struct err *err)
{
	struct facts_maker *fm;
	struct facts none;
	uint64_t ident;

	facts_begin(&fm);
	facts_end(&fm, &none);
	ident = head_of(none.ident);
	facts_release(&none);
	return try_chain(
		s, f, d, f->ident_heads[ident & f->mask], true, ident, first, err);
}

static enum status look(struct imap_sink *s, struct finder *f, struct delivery *d,
	uint32_t first, struct err *err)
{
	const struct facts *ours = &d->message->facts;
	uint64_t ident = head_of(ours->ident);
	uint64_t msgid = ours->has_msgid ? head_of(ours->msgid) : 0;
	enum status rc = try_chain(
		s, f, d, f->ident_heads[ident & f->mask], true, ident, first, err);

	if (rc == ST_END && starts_blank(d->message))
		rc = look_headless(s, f, d, first, err);
	if (rc == ST_END && msgid && (ours->anomalies & AN_8BIT_HEADER))
		rc = try_chain(s, f, d, f->msgid_heads[msgid & f->mask], false, msgid,
			first, err);
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
	struct finder *f;
	uint32_t first;
	enum status rc;

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
			rc = look(s, f, d, first, err);
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
