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

/* ---- how far was looked already ---- */

/*
 * Equal messages by the thousand: whoever looks for a free one of them need not see
 * again what was not free a moment ago, and cannot become free in this session. A trail
 * is of one content (and UIDL); another one may take its room, and then the look is
 * longer.
 */
enum { TRAILS = 256 };

struct trail {
	unsigned char digest[DIGEST];
	char *uidl;
	size_t uidl_n;
	int64_t upto; /* rows up to this one are of no use */
};

struct trails {
	struct trail v[TRAIL_KINDS][TRAILS];
	uint64_t asides;
};

void trails_free(struct engine *e)
{
	struct trails *t = e->trails;
	size_t i, k;

	for (k = 0; t && k < TRAIL_KINDS; k++)
		for (i = 0; i < TRAILS; i++)
			free(t->v[k][i].uidl);
	free(t);
	e->trails = NULL;
}

int64_t *trail(struct engine *e, enum trail_kind kind,
	const unsigned char digest[DIGEST], const char *uidl, size_t n)
{
	struct trail *t;

	if (e->trails && e->trails->asides != journal_asides(e->journal))
		trails_free(e);
	if (!e->trails) {
		e->trails = xcalloc(1, sizeof(*e->trails));
		e->trails->asides = journal_asides(e->journal);
	}
	t = &e->trails->v[kind][digest[0] % TRAILS];
	if (memcmp(t->digest, digest, DIGEST) != 0 || !t->uidl != !uidl ||
		t->uidl_n != n || (n && memcmp(t->uidl, uidl, n) != 0)) {
		free(t->uidl);
		memcpy(t->digest, digest, DIGEST);
		t->uidl = uidl ? xmemdup0(uidl, n) : NULL;
		t->uidl_n = n;
		t->upto = 0;
	}
	return &t->upto;
}

/* ---- names ---- */

struct search {
	struct engine *e;
	const struct facts *f;
	int64_t own;   /* this row's name is the message's own */
	int64_t found; /* 0: none yet */
	int64_t *upto;
	bool taken; /* a name of the root is in the listing */
	bool whole; /* its own row was among the names */
};

static bool in_listing(struct engine *e, const struct journal_alias *a)
{
	struct task *t;

	if (!a->uidl)
		return e->visits.unnamed > 0;
	if (!a->current)
		return false;
	t = tasks_find(&e->tasks, a->uidl, a->uidl_n, a->occurrence);
	return t && t->number;
}

static enum status look_at(void *ctx, const struct journal_alias *a, struct err *err)
{
	struct search *s = ctx;

	(void)err;
	s->whole |= a->row == a->root;
	s->taken |= a->row != s->own && in_listing(s->e, a);
	return ST_OK;
}

static enum status try_root(struct search *s, int64_t root, struct err *err)
{
	enum status rc;

	s->taken = s->whole = false;
	rc = journal_names(s->e->journal, root, s->f, look_at, s, err);
	if (rc == ST_OK && s->whole && !s->taken)
		s->found = root;
	return rc;
}

static enum status try_alias(void *ctx, const struct journal_alias *a, struct err *err)
{
	struct search *s = ctx;
	enum status rc = ST_OK;

	/* Most are in the listing under their first name. */
	if (a->row == a->root && !in_listing(s->e, a))
		rc = try_root(s, a->root, err);
	if (rc == ST_OK && !s->found)
		*s->upto = a->row;
	return rc == ST_OK && s->found ? ST_END : rc;
}

/* Nothing up to now was of use: what is no name now, can only be one of this
 * listing. */
static enum status end_trail(struct engine *e, int64_t *upto, struct err *err)
{
	uint64_t last = 0;
	enum status rc = journal_count(e->journal, &last, err);

	if (rc == ST_OK)
		*upto = (int64_t)last;
	return rc;
}

/* ---- rows of this run ---- */

static int by_first(const void *ap, const void *bp)
{
	const struct had_rows *a = ap, *b = bp;

	return (a->first > b->first) - (a->first < b->first);
}

/* What was had before is not added to: it is not of this session. */
void recall_note(struct engine *e, int64_t id)
{
	struct had *h = &e->had;

	if (h->n > h->before && h->v[h->n - 1].last == id - 1) {
		h->v[h->n - 1].last = id;
		return;
	}
	if (h->n == h->cap) {
		h->cap = h->cap ? h->cap + h->cap / 2 : 256;
		h->v = xreallocarray(h->v, h->cap, sizeof(*h->v));
	}
	h->v[h->n++] = (struct had_rows){ id, id };
}

/* Sorted, and none that touches the one before. */
static void put_together(struct had *h)
{
	size_t i, n = 0;

	qsort(h->v, h->n, sizeof(*h->v), by_first);
	for (i = 0; i < h->n; i++) {
		struct had_rows *at = n ? &h->v[n - 1] : NULL;

		if (!at || h->v[i].first > at->last + 1)
			h->v[n++] = h->v[i];
		else if (h->v[i].last > at->last)
			at->last = h->v[i].last;
	}
	h->n = n;
}

void recall_session(struct engine *e)
{
	struct had *h = &e->had;

	if (h->n > h->before)
		put_together(h);
	h->before = h->n;
	trails_free(e);
}

static int by_rows(const void *idp, const void *rowsp)
{
	const struct had_rows *rows = rowsp;
	int64_t id = *(const int64_t *)idp;

	return (id > rows->last) - (id < rows->first);
}

/* In an earlier session of this run, so that it was counted then. */
static bool had_before(const struct engine *e, int64_t id)
{
	const struct had *h = &e->had;

	return h->before && bsearch(&id, h->v, h->before, sizeof(*h->v), by_rows);
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
	int64_t *upto;
};

static enum status try_free(void *ctx, const struct journal_alias *a, struct err *err)
{
	struct free_one *s = ctx;
	const struct journal_key *k = s->key;

	(void)err;
	if (!a->uidl == !k->uidl &&
		(!k->uidl ||
			(a->uidl_n == k->uidl_n &&
				memcmp(a->uidl, k->uidl, k->uidl_n) == 0)) &&
		!nameless_given(s->e, a->root)) {
		s->root = a->root;
		return ST_END;
	}
	*s->upto = a->row;
	return ST_OK;
}

enum status recall_free(struct engine *e, const struct parcel *p,
	struct journal_row *row, struct err *err)
{
	const struct facts *f = &p->message->facts;
	struct journal_key key;
	struct free_one s = { e, &key, 0, NULL };
	enum status rc;

	tasks_key(&e->tasks, &e->tasks.v[p->task], &key);
	s.upto = trail(e, TRAIL_FREE, f->exact, key.uidl, key.uidl_n);
	rc = journal_aliases(e->journal, f, *s.upto, try_free, &s, err);
	if (rc == ST_OK && s.root)
		return journal_get(e->journal, s.root, row, err);
	if (rc == ST_OK)
		rc = end_trail(e, s.upto, err);
	return rc == ST_OK ? ST_END : rc;
}

enum status recall_find(struct engine *e, struct parcel *p, int64_t own,
	struct journal_row *row, struct err *err)
{
	struct search s = { .e = e, .own = own, .f = &p->message->facts };
	int64_t root;
	enum status rc;

	/* Where only a part is shown, absence proves nothing. */
	if (e->visits.windowed && e->job->dedup == DEDUP_NONE)
		return ST_END;
	if (own) {
		rc = journal_root(e->journal, own, &root, err);
		if (rc == ST_OK)
			rc = try_root(&s, root, err);
	} else {
		s.upto = trail(e, TRAIL_TAKEN, s.f->exact, NULL, 0);
		rc = journal_aliases(e->journal, s.f, *s.upto, try_alias, &s, err);
		if (rc == ST_OK && !s.found)
			rc = end_trail(e, s.upto, err);
	}
	if (rc != ST_OK)
		return rc;
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
