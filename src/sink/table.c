/*
 * table.c: what is in a mailbox.
 *
 * The headers are read once from a floor on (by FETCH, never by SEARCH, which lies:
 * quirks Q90, Q119), into 40 bytes a message. Each UID is given to one message only, so
 * that equal messages stay as many as they were.
 */
#include <popferry/mail.h>
#include <popferry/mem.h>

#include "table.h"

#include <stdlib.h>
#include <string.h>

/* Two folder names may mean one mailbox, so the session's mailbox counts. */
struct table *table_of(struct imap_sink *s, const struct imap_mailbox *mb)
{
	struct table *t;

	for (t = s->tables; t; t = t->next)
		if (t->mailbox == mb)
			return t;
	t = xcalloc(1, sizeof(*t));
	t->mailbox = mb;
	t->next = s->tables;
	s->tables = t;
	return t;
}

static void forget(struct table *t)
{
	t->n = 0;
	t->from = t->upto = 0;
	free(t->ident_heads);
	free(t->msgid_heads);
	t->ident_heads = t->msgid_heads = NULL;
	t->mask = 0;
}

void imap_tables_free(struct imap_sink *s)
{
	while (s->tables) {
		struct table *t = s->tables;

		s->tables = t->next;
		forget(t);
		free(t->entries);
		free(t->claims);
		free(t);
	}
}

uint64_t table_key(const unsigned char digest[DIGEST])
{
	uint64_t h;

	memcpy(&h, digest, sizeof(h));
	return h ? h : 1;
}

/* ---- claims ---- */

static struct entry *entry_of(struct table *t, uint32_t uid)
{
	size_t lo = 0, hi = t->n;

	/* put_in_order() has sorted the table. */
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (t->entries[mid].uid < uid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < t->n && t->entries[lo].uid == uid ? &t->entries[lo] : NULL;
}

static void add_claim(
	struct table *t, uint64_t owner, uint32_t uidvalidity, uint32_t uid)
{
	if (t->n_claims == t->cap_claims) {
		t->cap_claims = t->cap_claims ? 2 * t->cap_claims : 256;
		t->claims = xreallocarray(t->claims, t->cap_claims, sizeof(*t->claims));
	}
	t->claims[t->n_claims++] = (struct claim){ owner, uidvalidity, uid };
}

void table_give(struct entry *e, uint64_t owner)
{
	e->claimed = true;
	e->owner = owner;
}

void table_keep(struct table *t, struct entry *e, uint64_t owner)
{
	table_give(e, owner);
	add_claim(t, owner, t->uidvalidity, e->uid); /* for when it is read again */
}

void imap_table_claim(struct imap_sink *s, const struct imap_mailbox *mb,
	uint64_t generation, uint64_t uid, const unsigned char exact[DIGEST])
{
	struct table *t = table_of(s, mb);
	struct entry *e;

	/* Which generation is now we may not know yet: link_in() sorts it out. */
	add_claim(t, table_key(exact), (uint32_t)generation, (uint32_t)uid);
	e = t->uidvalidity == generation ? entry_of(t, (uint32_t)uid) : NULL;
	if (e)
		table_give(e, table_key(exact));
}

/* ---- reading the folder ---- */

static void note(void *ctx, const struct imap_seen *m)
{
	struct table *t = ctx;
	struct facts_maker *fm;
	struct facts facts;
	struct entry *e;

	if (t->n == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 256;
		t->entries = xreallocarray(t->entries, t->cap, sizeof(*t->entries));
	}
	facts_begin(&fm);
	facts_put(fm, m->header, m->header_n);
	facts_end(&fm, &facts);
	e = &t->entries[t->n++];
	*e = (struct entry){
		.ident = table_key(facts.ident),
		.msgid = facts.has_msgid ? table_key(facts.msgid) : 0,
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
static void put_in_order(struct table *t, size_t old)
{
	size_t i, n = old;

	if (t->n > old)
		qsort(t->entries + old, t->n - old, sizeof(*t->entries), by_uid);
	for (i = old; i < t->n; i++)
		if (!n || t->entries[i].uid > t->entries[n - 1].uid)
			t->entries[n++] = t->entries[i];
	t->n = n;
}

static void link_in(struct table *t)
{
	size_t want = 64, i;

	while (want < 2 * t->n)
		want *= 2;
	free(t->ident_heads);
	free(t->msgid_heads);
	t->ident_heads = xcalloc(want, sizeof(*t->ident_heads));
	t->msgid_heads = xcalloc(want, sizeof(*t->msgid_heads));
	t->mask = want - 1;
	/* From the end, so that chains give the oldest message first. */
	for (i = t->n; i-- > 0;) {
		struct entry *e = &t->entries[i];
		uint32_t *head = &t->ident_heads[e->ident & t->mask];

		e->next_ident = *head;
		*head = (uint32_t)i + 1;
		if (!e->msgid)
			continue;
		head = &t->msgid_heads[e->msgid & t->mask];
		e->next_msgid = *head;
		*head = (uint32_t)i + 1;
	}
	for (i = 0; i < t->n_claims; i++) {
		const struct claim *c = &t->claims[i];
		struct entry *e = entry_of(t, c->uid);

		if (e && c->uidvalidity == t->uidvalidity)
			table_give(e, c->owner);
	}
}

enum status table_read(struct imap_sink *s, struct table *t,
	const struct imap_mailbox *mb, uint32_t first, struct err *err)
{
	enum status rc;
	size_t old;

	if (t->uidvalidity != mb->uidvalidity) {
		forget(t);
		t->uidvalidity = mb->uidvalidity;
	}
	if (t->upto && first < t->from)
		forget(t);
	if (!t->upto)
		t->from = t->upto = first;
	old = t->n;
	rc = imap_scan(s->imap, t->upto, note, t, err);
	put_in_order(t, old);
	if (rc != ST_OK)
		return rc;
	if (mb->uidnext > t->upto)
		t->upto = mb->uidnext;
	if (t->n && t->entries[t->n - 1].uid >= t->upto)
		t->upto = t->entries[t->n - 1].uid + 1;
	link_in(t);
	return ST_OK;
}

/* ---- looking ---- */

struct entry *table_next(
	struct table *t, uint32_t *head, bool by_ident, uint64_t key, uint32_t first)
{
	while (*head) {
		struct entry *e = &t->entries[*head - 1];

		*head = by_ident ? e->next_ident : e->next_msgid;
		if (!e->claimed && e->uid >= first &&
			(by_ident ? e->ident : e->msgid) == key)
			return e;
	}
	return NULL;
}

uint32_t table_chain(const struct table *t, bool by_ident, uint64_t key)
{
	return (by_ident ? t->ident_heads : t->msgid_heads)[key & t->mask];
}

unsigned table_owned(const struct table *t, uint64_t ident, uint64_t owner)
{
	uint32_t at = table_chain(t, true, ident);
	unsigned n = 0;

	for (; at; at = t->entries[at - 1].next_ident)
		n += t->entries[at - 1].ident == ident &&
			t->entries[at - 1].owner == owner;
	return n;
}
