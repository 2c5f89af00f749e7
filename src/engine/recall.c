/*
 * recall.c: messages that the source lists under new UIDLs.
 *
 * Servers give all their messages new UIDLs one day, or every day, or two of
 * them take turns (quirks Q10, Q11, Q59). A message whose UIDL is unknown is
 * an old acquaintance when the journal has one with the same content, none of whose
 * names is in the present listing: each old one once, so that three equal
 * messages where there were two mean one new one.
 */
#include <popferry/mem.h>

#include "engine_p.h"

#include <stdlib.h>
#include <string.h>

struct search {
	struct engine *e;
	int64_t own;   /* this row's name is the message's own */
	int64_t only;  /* this root, or 0 for any */
	int64_t root;  /* that is looked at */
	int64_t found; /* 0: none yet */
	bool taken;    /* a name of it is in the listing */
	bool whole;    /* its own row was among the names */
};

static void weigh(struct search *s)
{
	if (s->root && s->whole && !s->taken && !s->found &&
		(!s->only || s->only == s->root))
		s->found = s->root;
}

static void look_at(void *ctx, const struct journal_alias *a)
{
	struct search *s = ctx;
	struct task *t = NULL;

	if (a->root != s->root) {
		weigh(s);
		s->root = a->root;
		s->taken = s->whole = false;
	}
	s->whole |= a->row == a->root;
	if (a->row == s->own)
		return;
	if (a->uidl && a->current)
		t = tasks_find(&s->e->tasks, a->uidl, a->uidl_n, a->occurrence);
	s->taken |= a->uidl ? t && t->number : s->e->visits.unnamed > 0;
}

/* ---- rows of this run ---- */

static int by_id(const void *ap, const void *bp)
{
	int64_t a = *(const int64_t *)ap, b = *(const int64_t *)bp;

	return (a > b) - (a < b);
}

void recall_note(struct engine *e, int64_t id)
{
	struct had *h = &e->had;

	if (h->n == h->cap) {
		h->cap = h->cap ? h->cap + h->cap / 2 : 256;
		h->id = xreallocarray(h->id, h->cap, sizeof(*h->id));
	}
	h->id[h->n++] = id;
}

void recall_session(struct engine *e)
{
	struct had *h = &e->had;

	if (h->n > h->before)
		qsort(h->id, h->n, sizeof(*h->id), by_id);
	h->before = h->n;
}

/* In an earlier session of this run, so that it was counted then. */
static bool had_before(const struct engine *e, int64_t id)
{
	const struct had *h = &e->had;

	return h->before && bsearch(&id, h->id, h->before, sizeof(*h->id), by_id);
}

/* ---- looking for one ---- */

static void tell_reset(struct engine *e)
{
	struct visits *v = &e->visits;

	if (v->reset_told || v->before < RESET_KNOWN || v->back * 10 >= v->before)
		return;
	v->reset_told = true;
	log_warn(&e->log, "uidl-reset", LOG_U("known-before", v->before),
		LOG_U("known-now", v->back),
		LOG_S("meaning",
			"the server has given its messages new UIDLs: all are fetched, and "
			"only what is new is stored"));
}

struct free_one {
	const struct engine *e;
	const struct journal_key *key;
	int64_t root; /* 0: not reached */
};

static void try_free(void *ctx, const struct journal_alias *a)
{
	struct free_one *s = ctx;
	const struct journal_key *k = s->key;

	if (s->root || !a->uidl != !k->uidl)
		return;
	if (k->uidl && (a->uidl_n != k->uidl_n || memcmp(a->uidl, k->uidl, k->uidl_n)))
		return;
	if (!nameless_given(s->e, a->root))
		s->root = a->root;
}

enum status recall_free(struct engine *e, const struct parcel *p,
	struct journal_row *row, struct err *err)
{
	struct journal_key key;
	struct free_one s = { e, &key, 0 };
	enum status rc;

	tasks_key(&e->tasks, &e->tasks.v[p->task], &key);
	rc = journal_aliases(e->journal, p->message->facts.exact, try_free, &s, err);
	if (rc == ST_OK)
		rc = s.root ? journal_get(e->journal, s.root, row, err) : ST_END;
	return rc;
}

enum status recall_find(struct engine *e, struct parcel *p, int64_t own,
	struct journal_row *row, struct err *err)
{
	struct search s = { .e = e, .own = own };
	enum status rc = ST_OK;

	/* Where only a part is shown, absence proves nothing. */
	if (e->visits.windowed && e->job->dedup == DEDUP_NONE)
		return ST_END;
	if (own) {
		rc = journal_root(e->journal, own, &s.only, err);
		if (rc != ST_OK)
			return rc;
	}
	rc = journal_aliases(e->journal, p->message->facts.exact, look_at, &s, err);
	if (rc != ST_OK)
		return rc;
	weigh(&s);
	if (!s.found)
		return ST_END;
	rc = journal_get(e->journal, s.found, row, err);
	/* What no destination has is stored as any other message. */
	if (rc == ST_OK && !((row->stored | row->storing) & e->mask))
		return ST_END;
	if (rc == ST_OK && !own)
		tell_reset(e);
	p->run->renamed = had_before(e, s.found);
	return rc;
}
