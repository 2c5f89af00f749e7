/*
 * lost.c: what was stored, but at a place that is not known, or not any more: it is
 * looked for by its content, all of a folder together.
 */
#include <popferry/clock.h>
#include <popferry/mem.h>

#include "verify.h"

#include <stdlib.h>
#include <string.h>

enum { LOST_MAX = 20000 }; /* looked for in one survey of a folder */

static uint64_t head_of(const unsigned char digest[DIGEST])
{
	uint64_t h;

	memcpy(&h, digest, sizeof(h));
	return h;
}

enum status lost_add(struct verifying *v, int64_t id, bool never, struct err *err)
{
	struct journal_row row;
	enum status rc = journal_get(v->e->journal, id, &row, err);

	if (rc != ST_OK)
		return rc < 0 ? rc : ST_OK;
	if (v->n_lost == v->cap_lost) {
		v->cap_lost = v->cap_lost ? 2 * v->cap_lost : 64;
		v->lost = xreallocarray(v->lost, v->cap_lost, sizeof(*v->lost));
	}
	v->lost[v->n_lost++] = (struct stray){ head_of(row.ident), id, false, never };
	return ST_OK;
}

static int by_ident(const void *a, const void *b)
{
	const struct stray *x = a, *y = b;

	if (x->ident != y->ident)
		return x->ident < y->ident ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* As they came: so people read of them. */
static int by_id(const void *a, const void *b)
{
	const struct stray *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* The first of the lost with this head; v->n_lost when there is none. */
static size_t lost_of(const struct verifying *v, uint64_t ident)
{
	size_t lo = 0, hi = v->n_lost;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (v->lost[mid].ident < ident)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < v->n_lost && v->lost[lo].ident == ident ? lo : v->n_lost;
}

static void sight(void *ctx, const struct sink_seen *seen)
{
	struct verifying *v = ctx;
	uint64_t ident = head_of(seen->facts->ident);
	size_t i = lost_of(v, ident);
	struct place at = { seen->generation, seen->place };
	int64_t holder;
	enum status rc;

	v->seen_generation = seen->generation;
	if (i == v->n_lost || v->rc != ST_OK)
		return;
	rc = journal_holder(
		v->e->journal, v->lost[i].id, v->s->id, &at, &holder, v->err);
	if (rc < 0)
		v->rc = rc;
	if (rc != ST_END)
		return; /* another message has this place */
	if (v->n_seen == v->cap_seen) {
		v->cap_seen = v->cap_seen ? 2 * v->cap_seen : 256;
		v->seen = xreallocarray(v->seen, v->cap_seen, sizeof(*v->seen));
	}
	v->seen[v->n_seen++] = (struct sighting){ seen->place, ident };
}

/* One of those that look like it outside is it. */
static void match(
	struct verifying *v, const struct sighting *s, const struct facts *theirs)
{
	struct place at = { v->seen_generation, s->place };
	struct journal_placed none = { .id = 0 };
	size_t i = lost_of(v, s->ident);
	struct journal_row row;
	enum status rc = ST_OK;

	for (; i < v->n_lost && v->lost[i].ident == s->ident && rc >= 0; i++) {
		if (v->lost[i].found)
			continue;
		rc = journal_get(v->e->journal, v->lost[i].id, &row, v->err);
		if (rc != ST_OK || verify_compare(&row, &none, theirs) != R_EQUAL)
			continue;
		rc = journal_verified(
			v->e->journal, row.id, v->s->id, &at, clock_utc(), v->err);
		if (rc != ST_OK)
			continue;
		v->lost[i].found = true;
		v->count->verified++;
		verify_good(v, row.id, v->lost_folder_id);
		verify_step(v);
		return;
	}
	if (rc < 0)
		v->rc = rc;
}

static void sighted_end(void *ctx, size_t k, enum sink_found what)
{
	struct verifying *v = ctx;
	struct facts theirs;

	if (what == FOUND_WHOLE && v->fm && v->rc == ST_OK) {
		facts_end(&v->fm, &theirs);
		match(v, &v->seen[v->at_seen + k], &theirs);
		facts_release(&theirs);
	}
	verify_drop(v);
}

static enum status look(struct verifying *v, struct err *err)
{
	struct sink_reading to = { verify_begin, verify_take, sighted_end, v };
	uint64_t places[JOURNAL_PAGE];
	enum status rc = slot_open(v->e, v->s, err);
	size_t n, k;

	v->n_seen = 0;
	if (rc == ST_OK)
		rc = v->s->ops->survey(v->s->sink, v->lost_folder, sight, v, err);
	for (v->at_seen = 0; rc == ST_OK && v->rc == ST_OK && v->at_seen < v->n_seen;
		v->at_seen += n) {
		n = v->n_seen - v->at_seen;
		if (n > JOURNAL_PAGE)
			n = JOURNAL_PAGE;
		for (k = 0; k < n; k++)
			places[k] = v->seen[v->at_seen + k].place;
		rc = v->s->ops->read(v->s->sink, v->lost_folder, v->seen_generation,
			places, n, &to, err);
	}
	verify_drop(v);
	return v->rc == ST_OK ? rc : v->rc;
}

static enum status not_found(
	struct verifying *v, const struct stray *lost, struct err *err)
{
	enum status rc = ST_OK;

	if (lost->never) {
		v->count->missing++;
		rc = journal_doubtful(
			v->e->journal, lost->id, v->s->id, clock_utc(), err);
	} else {
		v->count->unknown++;
	}
	v->e->unverified++;
	verify_step(v);
	if (rc != ST_OK)
		return rc;
	verify_tell(v, lost->id, 0, v->lost_folder, lost->never ? R_NEVER : R_LOST);
	return v->rc;
}

/* Looks for all that are lost in one folder, and forgets them. */
static enum status look_for_lost(struct verifying *v, struct err *err)
{
	enum status rc = ST_OK;
	size_t i;

	if (v->n_lost == 0)
		return ST_OK;
	qsort(v->lost, v->n_lost, sizeof(*v->lost), by_ident);
	v->s->attempts = 0;
	while ((rc = look(v, err)) == ST_RETRY) {
		rc = slot_again(v->e, v->s, err);
		if (rc != ST_OK)
			return rc;
	}
	if (rc == ST_SKIP) /* no such folder: nothing is in it */
		rc = ST_OK;
	qsort(v->lost, v->n_lost, sizeof(*v->lost), by_id);
	for (i = 0; rc == ST_OK && i < v->n_lost; i++)
		if (!v->lost[i].found)
			rc = not_found(v, &v->lost[i], err);
	v->n_lost = 0;
	return rc;
}

/* The lost of one folder are looked for together. */
enum status lost_in(struct verifying *v, const char *folder, struct err *err)
{
	bool same = v->lost_folder && folder && strcmp(v->lost_folder, folder) == 0;
	enum status rc = ST_OK;

	if (!same || v->n_lost >= LOST_MAX)
		rc = look_for_lost(v, err);
	if (!same) {
		free(v->lost_folder);
		v->lost_folder = folder ? xstrdup(folder) : NULL;
		v->lost_folder_id = v->page.folder_id;
	}
	return rc;
}
