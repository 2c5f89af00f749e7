/*
 * verify.c: what was stored is read back and compared with the journal.
 *
 * A page of places at a time; nothing of a message is kept but its digests. Equal is what
 * has the digest of the record, or of the form that went up, or the same content after
 * the changes of line ends that servers make (the digest `exact`).
 *
 * What is not there (quirks Q112, Q121): its number was given out, so somebody took it
 * away: it is not sent again. Its number was never given out, so the receipt was wrong or
 * the server went back in time: unless it was verified once it is in doubt again, and the
 * next run looks for it and sends it.
 */
#include <popferry/clock.h>
#include <popferry/fault.h>
#include <popferry/mem.h>

#include "engine_p.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOST_MAX = 20000 }; /* looked for in one survey of a folder */

enum result {
	R_PENDING,
	R_LEFT, /* need not be read */
	R_EQUAL,
	R_REWRITTEN, /* the same body under another header */
	R_CHANGED,
	R_GONE,
	R_NEVER,
	R_UNREAD,
	R_LOST, /* its place says nothing now: look for its content */
};

/* One whose place is not known, to be found by content. */
struct stray {
	uint64_t ident; /* first bytes of the digest */
	int64_t id;
	bool found;
};

struct sighting {
	uint64_t place, ident;
};

struct verifying {
	struct engine *e;
	struct slot *s;
	struct checked *count;
	struct doomed_set *set;
	bool all;
	struct journal_page page;
	enum result result[JOURNAL_PAGE];
	size_t which[JOURNAL_PAGE]; /* of the page, what read() was asked for */
	struct facts_maker *fm;
	enum status rc; /* of the journal, in callbacks */
	struct err *err;
	unsigned unread; /* given up, in a row */

	struct stray *lost; /* of one folder */
	size_t n_lost, cap_lost;
	char *lost_folder;
	struct sighting *seen;
	size_t n_seen, cap_seen, at_seen;
	uint64_t seen_generation;
};

/* ---- the doomed ---- */

/* The first of this holder, or the place after those before it. */
static size_t first_of(const struct doomed_set *set, int64_t holder)
{
	size_t lo = 0, hi = set ? set->n : 0;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (set->v[mid].holder < holder)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool is_doomed(const struct doomed_set *set, int64_t holder)
{
	size_t i = first_of(set, holder);

	return set && i < set->n && set->v[i].holder == holder;
}

static void mark_good(struct verifying *v, int64_t holder)
{
	size_t i = first_of(v->set, holder);

	for (; v->set && i < v->set->n && v->set->v[i].holder == holder; i++)
		v->set->v[i].good |= 1u << v->s->id;
}

/* ---- what is told ---- */

static void find(struct verifying *v, int64_t id, uint64_t place, const char *folder,
	const char *kind, const char *text)
{
	struct engine *e = v->e;
	struct finding f = { v->s->end->url, folder, place, NULL, 0, kind, text };
	char full[ERR_TEXT];
	enum status rc;
	char *uidl = NULL;

	rc = journal_uidl(e->journal, id, &uidl, &f.uidl_n, v->err);
	f.uidl = uidl;
	if (!e->finding)
		log_warn(&e->log, kind, LOG_S("dest", f.dest), LOG_S("folder", folder),
			LOG_U("place", place),
			LOG_B("uidl", uidl ? uidl : "", f.uidl_n),
			LOG_S("meaning", text));
	snprintf(full, sizeof(full), "%s (%s, folder \"%s\")", text, f.dest, folder);
	if (rc >= 0 && e->run)
		rc = journal_notice(e->journal, id, kind, full, v->err);
	if (e->finding)
		e->finding(e->finding_ctx, &f);
	free(uidl);
	if (rc < 0)
		v->rc = rc;
}

static const char *const told[][2] = {
	[R_REWRITTEN] = { "changed-there",
		"the server keeps the same text under a header it has rewritten" },
	[R_CHANGED] = { "changed-there", "what is there is not what was stored" },
	[R_GONE] = { "gone-there",
		"it was stored and somebody has deleted or moved it there since; it is "
		"not sent again" },
	[R_NEVER] = { "gone-there",
		"the destination said that it stored it, and has not; the next run sends "
		"it again" },
	[R_UNREAD] = { "unreadable-there", "it cannot be read back" },
	[R_LOST] = { "not-found-there",
		"it is not known where it was put, and nothing like it was found" },
};

/* ---- comparing ---- */

static enum result compare(const struct journal_row *row,
	const struct journal_placed *p, const struct facts *theirs)
{
	if (memcmp(row->sha256, theirs->sha256, DIGEST) == 0 ||
		memcmp(row->exact, theirs->exact, DIGEST) == 0 ||
		(p->has_wire && memcmp(p->wire, theirs->sha256, DIGEST) == 0))
		return R_EQUAL;
	if (memcmp(row->body, theirs->body, DIGEST) == 0 &&
		memcmp(row->ident, theirs->ident, DIGEST) == 0)
		return R_REWRITTEN;
	return R_CHANGED;
}

static void drop(struct verifying *v)
{
	if (v->fm)
		facts_end(&v->fm, NULL);
}

static void read_begin(void *ctx)
{
	struct verifying *v = ctx;

	drop(v);
	facts_begin(&v->fm);
}

static void read_take(void *ctx, const char *p, size_t n)
{
	struct verifying *v = ctx;

	facts_put(v->fm, p, n);
}

static void read_end(void *ctx, size_t k, enum sink_found what)
{
	static const enum result results[] = {
		[FOUND_WHOLE] = R_EQUAL,
		[FOUND_GONE] = R_GONE,
		[FOUND_NEVER] = R_NEVER,
		[FOUND_UNREAD] = R_UNREAD,
	};
	struct verifying *v = ctx;
	const struct journal_placed *p = &v->page.v[v->which[k]];
	enum result r = results[what];
	struct journal_row row;
	struct facts theirs;
	enum status rc;

	if (r == R_EQUAL && v->fm) {
		facts_end(&v->fm, &theirs);
		rc = journal_get(v->e->journal, p->id, &row, v->err);
		if (rc < 0)
			v->rc = rc;
		r = rc == ST_OK ? compare(&row, p, &theirs) : R_UNREAD;
		facts_release(&theirs);
	}
	drop(v);
	v->result[v->which[k]] = r;
}

/* ---- reading a page ---- */

/* The numbers that are still to be read: all, or the first alone. */
static size_t pending(struct verifying *v, uint64_t places[JOURNAL_PAGE], bool alone)
{
	size_t n = 0, k;

	for (k = 0; k < v->page.n && !(alone && n); k++)
		if (v->result[k] == R_PENDING) {
			v->which[n] = k;
			places[n++] = v->page.v[k].at.number;
		}
	return n;
}

/*
 * A session ended in the middle of this page. One message must not keep the others from
 * being read; nor must an ill server make all of them unreadable.
 */
static enum status read_again(struct verifying *v, size_t first, size_t *stuck,
	unsigned *losses, struct err *err)
{
	bool moved = v->result[first] != R_PENDING || *stuck != first;

	*losses = moved ? 1 : *losses + 1;
	*stuck = first;
	if (v->result[first] == R_PENDING && *losses >= POISON_TRIES) {
		if (v->unread++ == POISON_ROW)
			return err->status = ST_DENIED;
		v->result[first] = R_UNREAD;
		moved = true;
	}
	if (moved)
		v->s->attempts = 0;
	return slot_again(v->e, v->s, err);
}

static enum status read_page(struct verifying *v, struct err *err)
{
	struct sink_reading to = { read_begin, read_take, read_end, v };
	uint64_t places[JOURNAL_PAGE];
	size_t n, stuck = SIZE_MAX, k;
	unsigned losses = 0;
	bool alone = false;
	enum status rc = ST_OK;

	while ((n = pending(v, places, alone)) > 0) {
		if (atomic_load(&v->e->stop))
			return engine_stopped(err);
		rc = slot_open(v->e, v->s, err);
		if (rc == ST_OK)
			rc = v->s->ops->read(v->s->sink, v->page.folder,
				v->page.generation, places, n, &to, err);
		drop(v);
		if (v->rc != ST_OK)
			return v->rc;
		if (rc == ST_RETRY) {
			rc = read_again(v, v->which[0], &stuck, &losses, err);
			alone = true;
			if (rc != ST_OK)
				return rc;
			continue;
		}
		if (rc != ST_OK)
			break;
		alone = false;
		v->unread = 0;
	}
	if (rc != ST_SKIP)
		return rc;
	for (k = 0; k < v->page.n; k++)
		if (v->result[k] == R_PENDING)
			v->result[k] = v->s->ops->survey ? R_LOST : R_UNREAD;
	return ST_OK;
}

/* ---- recording ---- */

static uint64_t head_of(const unsigned char digest[DIGEST])
{
	uint64_t h;

	memcpy(&h, digest, sizeof(h));
	return h;
}

static enum status add_lost(struct verifying *v, int64_t id, struct err *err)
{
	struct journal_row row;
	enum status rc = journal_get(v->e->journal, id, &row, err);

	if (rc != ST_OK)
		return rc < 0 ? rc : ST_OK;
	if (v->n_lost == v->cap_lost) {
		v->cap_lost = v->cap_lost ? 2 * v->cap_lost : 64;
		v->lost = xreallocarray(v->lost, v->cap_lost, sizeof(*v->lost));
	}
	v->lost[v->n_lost++] = (struct stray){ head_of(row.ident), id, false };
	return ST_OK;
}

static void step(struct verifying *v)
{
	pthread_mutex_lock(&v->e->lock);
	v->e->progress.done++;
	pthread_mutex_unlock(&v->e->lock);
}

static enum status record_one(struct verifying *v, size_t k, struct err *err)
{
	const struct journal_placed *p = &v->page.v[k];
	enum result r = v->result[k];
	enum status rc = ST_OK;

	if (r == R_LEFT)
		return ST_OK;
	if (r == R_LOST)
		return add_lost(v, p->id, err);
	step(v);
	if (r == R_EQUAL) {
		v->count->verified++;
		mark_good(v, p->id);
		if (!p->verified)
			rc = journal_verified(v->e->journal, p->id, v->s->id, &p->at,
				clock_utc(), err);
		return rc < 0 ? rc : ST_OK;
	}
	if (r == R_CHANGED || r == R_REWRITTEN)
		v->count->changed++;
	else if (r == R_UNREAD)
		v->count->unknown++;
	else
		v->count->missing++;
	/* What its user deletes is his affair once it was there for certain. */
	if (!(r == R_GONE && p->verified))
		v->e->unverified++;
	if (r == R_NEVER)
		rc = journal_doubtful(v->e->journal, p->id, v->s->id, clock_utc(), err);
	if (rc == ST_OK)
		find(v, p->id, p->at.number, v->page.folder, told[r][0], told[r][1]);
	return rc == ST_OK ? v->rc : rc;
}

static enum status record(struct verifying *v, struct err *err)
{
	enum status rc = journal_begin(v->e->journal, err);
	size_t k;

	for (k = 0; rc == ST_OK && k < v->page.n; k++)
		rc = record_one(v, k, err);
	if (rc == ST_OK)
		rc = journal_commit(v->e->journal, err);
	fault_step("verified");
	return rc;
}

/* ---- those whose place is not known ---- */

static int by_ident(const void *a, const void *b)
{
	const struct stray *x = a, *y = b;

	if (x->ident != y->ident)
		return x->ident < y->ident ? -1 : 1;
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
		if (rc != ST_OK || compare(&row, &none, theirs) != R_EQUAL)
			continue;
		rc = journal_verified(
			v->e->journal, row.id, v->s->id, &at, clock_utc(), v->err);
		if (rc != ST_OK)
			continue;
		v->lost[i].found = true;
		v->count->verified++;
		mark_good(v, row.id);
		step(v);
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
	drop(v);
}

static enum status look(struct verifying *v, struct err *err)
{
	struct sink_reading to = { read_begin, read_take, sighted_end, v };
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
	drop(v);
	return v->rc == ST_OK ? rc : v->rc;
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
	for (i = 0; rc == ST_OK && i < v->n_lost; i++) {
		if (v->lost[i].found)
			continue;
		v->count->unknown++;
		v->e->unverified++;
		step(v);
		find(v, v->lost[i].id, 0, v->lost_folder, told[R_LOST][0],
			told[R_LOST][1]);
		rc = v->rc;
	}
	v->n_lost = 0;
	return rc;
}

/* The lost of one folder are looked for together. */
static enum status lost_in(struct verifying *v, const char *folder, struct err *err)
{
	bool same = v->lost_folder && folder && strcmp(v->lost_folder, folder) == 0;
	enum status rc = ST_OK;

	if (!same || v->n_lost >= LOST_MAX)
		rc = look_for_lost(v, err);
	if (!same) {
		free(v->lost_folder);
		v->lost_folder = folder ? xstrdup(folder) : NULL;
	}
	return rc;
}

/* ---- all of a slot ---- */

static bool wanted(const struct verifying *v, const struct journal_placed *p)
{
	return v->all || !p->verified || is_doomed(v->set, p->id);
}

static enum status one_page(struct verifying *v, struct err *err)
{
	enum status rc = lost_in(v, v->page.folder, err), kept;
	bool survey = v->s->ops->survey != NULL;
	size_t k;

	if (rc != ST_OK)
		return rc;
	for (k = 0; k < v->page.n; k++)
		v->result[k] = !wanted(v, &v->page.v[k]) ? R_LEFT
			: !v->page.unknown               ? R_PENDING
			: survey                         ? R_LOST
							 : R_UNREAD;
	rc = read_page(v, err);
	for (k = 0; rc != ST_OK && k < v->page.n; k++)
		if (v->result[k] == R_PENDING)
			v->result[k] = R_LEFT;
	/* What was read is known, whatever ended the reading. */
	kept = v->rc == ST_OK ? record(v, rc == ST_OK ? err : NULL) : v->rc;
	return rc == ST_OK ? kept : rc;
}

static enum status one_slot(struct verifying *v, struct err *err)
{
	enum status rc = ST_OK;
	int unknown;

	for (unknown = 0; rc == ST_OK && unknown < 2; unknown++) {
		free(v->page.folder);
		v->page = (struct journal_page){ .unknown = unknown,
			.again = v->all || (v->set && v->set->n) };
		while (rc == ST_OK) {
			rc = journal_page(v->e->journal, v->s->id, &v->page, err);
			if (rc == ST_OK)
				rc = one_page(v, err);
		}
		if (rc == ST_END)
			rc = ST_OK;
	}
	if (rc == ST_OK)
		rc = lost_in(v, NULL, err);
	slot_close(v->e, v->s);
	return rc;
}

enum status verify_places(struct engine *e, struct doomed_set *set, bool all,
	struct checked out[SINKS_MAX], struct err *err)
{
	struct verifying *v = xcalloc(1, sizeof(*v));
	enum status rc = ST_OK;
	size_t k;

	pthread_mutex_lock(&e->lock);
	e->progress = (struct progress){ .phase = "verifying" };
	pthread_mutex_unlock(&e->lock);
	v->e = e;
	v->set = set;
	v->all = all;
	v->err = err;
	for (k = 0; rc == ST_OK && k < e->n_slots; k++) {
		v->s = &e->slots[k];
		v->s->reading = true;
		v->s->attempts = 0;
		v->count = &out[k];
		*v->count = (struct checked){ .url = v->s->end->url };
		rc = one_slot(v, err);
		log_info(&e->log, "verified", LOG_S("dest", out[k].url),
			LOG_U("verified", out[k].verified),
			LOG_U("changed", out[k].changed),
			LOG_U("missing", out[k].missing),
			LOG_U("unknown", out[k].unknown));
	}
	free(v->page.folder);
	free(v->lost_folder);
	free(v->lost);
	free(v->seen);
	free(v);
	return rc;
}
