/*
 * doomed.c: which of the listed messages may be deleted at the source, if they are
 * verified. See may_go().
 */
#include <popferry/clock.h>
#include <popferry/mem.h>

#include "remove.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- lists ---- */

void ids_add(struct ids *l, int64_t id)
{
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 64;
		l->v = xreallocarray(l->v, l->cap, sizeof(*l->v));
	}
	l->v[l->n++] = id;
}

static int by_id(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

void ids_sort(struct ids *l)
{
	if (l->n)
		qsort(l->v, l->n, sizeof(*l->v), by_id);
}

bool ids_has(const struct ids *l, int64_t id)
{
	return l->n && bsearch(&id, l->v, l->n, sizeof(*l->v), by_id);
}

int doomed_order(const void *a, const void *b)
{
	const struct doomed *x = a, *y = b;

	if (x->holder != y->holder)
		return x->holder < y->holder ? -1 : 1;
	return by_id(&x->id, &y->id);
}

void doomed_add(struct doomed_set *s, const struct doomed *d)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		s->v = xreallocarray(s->v, s->cap, sizeof(*s->v));
	}
	s->v[s->n++] = *d;
}

struct doomed *doomed_find(const struct doomed_set *s, const struct doomed *d)
{
	return s->n ? bsearch(d, s->v, s->n, sizeof(*s->v), doomed_order) : NULL;
}

/* ---- may it go? ---- */

struct marks {
	bool doubt, altered;
};

/* Whatever was odd about a message, only its owner may throw the source's copy away. */
static void mark(void *ctx, const char *kind)
{
	static const char *const kinds[] = { "substitute", "internal-data",
		"size-mismatch", "glued-dot", "unstuffed", "empty", "archive-only",
		"changed-at-source", "delete-ignored" };
	struct marks *m = ctx;
	size_t i;

	m->altered |= strcmp(kind, "repaired") == 0 || strcmp(kind, "wrapped") == 0;
	for (i = 0; i < N_ELEMENTS(kinds); i++)
		m->doubt |= strcmp(kind, kinds[i]) == 0;
}

/* Does a destination have what came, whatever another one made of it? */
static bool has_record(const struct engine *e)
{
	size_t k;

	for (k = 0; k < e->n_slots; k++)
		if (e->slots[k].ops->record)
			return true;
	return false;
}

static enum status in_doubt(struct remover *r, int64_t id, bool *doubt, struct err *err)
{
	struct marks m = { false, false };
	enum status rc;

	rc = journal_notice_kinds(r->e->journal, id, mark, &m, err);
	if (rc != ST_OK)
		return rc;
	*doubt |= m.doubt || (m.altered && !has_record(r->e));
	if (!r->e->run) /* a dry run: no failure can be of it */
		return ST_OK;
	rc = journal_failed_in(r->e->journal, id, r->e->run, err);
	*doubt |= rc == ST_OK;
	return rc < 0 ? rc : ST_OK;
}

/* The row whose places count. ST_END: there is none to trust. */
static enum status holder_of(struct remover *r, const struct journal_row *row,
	struct journal_row *holder, struct err *err)
{
	enum status rc;

	*holder = *row;
	if (!row->has_content)
		return ST_END;
	if (row->state == J_TAKEN)
		return ST_OK;
	if (row->state != J_DUPLICATE)
		return ST_END;
	rc = journal_get(r->e->journal, row->of, holder, err);
	if (rc != ST_OK)
		return rc;
	if (holder->state != J_TAKEN || !holder->has_content)
		return ST_END;
	/* A duplicate by looks alone is a message of its own. */
	return memcmp(row->sha256, holder->sha256, DIGEST) == 0 ||
			memcmp(row->exact, holder->exact, DIGEST) == 0
		? ST_OK
		: ST_END;
}

static enum status old_enough(struct remover *r, const struct journal_row *row,
	const struct journal_row *holder, bool *out, struct err *err)
{
	const struct engine *e = r->e;
	int64_t at = 0, age = e->job->delete_age;
	enum status rc = journal_stored_at(
		e->journal, holder->id, e->mask, r->time, &at, err);

	*out = rc == ST_OK && (!age || r->time - at >= age);
	/* Nobody noted when a duplicate was seen first: its own date has to do. */
	if (age && row->id != holder->id)
		*out = *out && row->date && r->time - row->date >= age;
	return rc < 0 ? rc : ST_OK;
}

/* Is this UIDL nothing but the message's number? Then it names nothing (Q10). */
static bool is_number(const struct journal_key *k, uint32_t number)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%" PRIu32, number);

	return k->uidl_n == (size_t)n && memcmp(k->uidl, text, k->uidl_n) == 0;
}

bool doomed_may_be(const struct journal_key *k, uint32_t number)
{
	return k->uidl && k->occurrence == 1 && k->listed_size != UINT64_MAX &&
		!is_number(k, number);
}

/* ST_OK: it may, once it is verified; ST_END: it may not. */
static enum status may_go(struct remover *r, const struct journal_key *k,
	uint32_t number, const struct journal_row *row, struct doomed *out,
	struct err *err)
{
	struct journal_row holder;
	bool doubt = false, old = false;
	enum status rc;

	if (!doomed_may_be(k, number) || row->kept >= KEPT_MAX ||
		row->listed_size != k->listed_size)
		return ST_END;
	rc = holder_of(r, row, &holder, err);
	if (rc != ST_OK)
		return rc;
	if ((holder.stored & r->e->mask) != r->e->mask)
		return ST_END;
	rc = in_doubt(r, row->id, &doubt, err);
	if (rc == ST_OK && holder.id != row->id)
		rc = in_doubt(r, holder.id, &doubt, err);
	if (rc == ST_OK && !doubt)
		rc = old_enough(r, row, &holder, &old, err);
	if (rc != ST_OK)
		return rc;
	*out = (struct doomed){ .id = row->id, .holder = holder.id, .number = number };
	return doubt || !old ? ST_END : ST_OK;
}

/* ---- one listing ---- */

/* UIDLs that name two messages name none (quirk Q4). */
static enum status ban(struct remover *r, const struct journal_key *k, struct err *err)
{
	struct journal_row first;
	enum status rc = journal_find(
		r->e->journal, k->uidl, k->uidl_n, 1, &first, err);

	if (rc == ST_OK)
		ids_add(&r->banned, first.id);
	return rc < 0 ? rc : ST_OK;
}

static enum status see(struct remover *r, const struct journal_key *k, uint32_t number,
	struct err *err)
{
	struct journal_row row;
	struct doomed d;
	enum status rc;

	if (!k->uidl)
		return ST_OK;
	rc = journal_find(r->e->journal, k->uidl, k->uidl_n, k->occurrence, &row, err);
	if (rc == ST_OK && row.asked)
		ids_add(&r->still, row.id);
	else if (rc == ST_OK && row.removed)
		ids_add(&r->back, row.id);
	if (k->occurrence > 1)
		return rc < 0 ? rc : ban(r, k, err);
	if (rc != ST_OK || r->now.n >= r->want)
		return rc < 0 ? rc : ST_OK;
	rc = may_go(r, k, number, &row, &d, err);
	if (rc != ST_OK)
		return rc < 0 ? rc : ST_OK;
	if (r->set.n) { /* only what this run looked at */
		const struct doomed *known = doomed_find(&r->set, &d);

		if (!known || (known->good & r->e->mask) != r->e->mask || known->gone)
			return ST_OK;
		d.size = k->listed_size;
		memcpy(d.folder, known->folder, sizeof(d.folder));
	}
	doomed_add(&r->now, &d);
	return ST_OK;
}

void doomed_see(void *remover, const struct item *it)
{
	struct remover *r = remover;
	const struct journal_key k = { it->uidl, it->uidl_n, it->occurrence, it->size,
		0 };

	if (r->rc == ST_OK)
		r->rc = see(r, &k, it->number, r->err);
}

void doomed_begin(struct remover *r, size_t want)
{
	r->now.n = r->banned.n = r->still.n = r->back.n = 0;
	r->want = want;
	r->time = clock_utc();
}

void doomed_end(struct remover *r)
{
	size_t i, n = 0;

	ids_sort(&r->banned);
	ids_sort(&r->still);
	for (i = 0; i < r->now.n; i++)
		if (!ids_has(&r->banned, r->now.v[i].id))
			r->now.v[n++] = r->now.v[i];
	r->now.n = n;
}

/* The run's own listing. */
enum status doomed_tasks(struct remover *r, struct err *err)
{
	struct engine *e = r->e;
	struct journal_key k;
	enum status rc;
	size_t i;

	doomed_begin(r, SIZE_MAX);
	rc = journal_begin(e->journal, err);
	for (i = 0; rc == ST_OK && i < e->tasks.n; i++) {
		const struct task *t = &e->tasks.v[i];

		if (!t->number)
			continue;
		tasks_key(&e->tasks, t, &k);
		rc = see(r, &k, t->number, err);
	}
	if (rc == ST_OK)
		rc = journal_commit(e->journal, err);
	doomed_end(r);
	return rc;
}
