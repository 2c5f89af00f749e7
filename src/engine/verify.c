/*
 * verify.c: what was stored is read back and compared with the journal.
 *
 * A page of places at a time; nothing of a message is kept but its digests. Equal is
 * what has the digest of the record, or of the form that went up, or the same content
 * after the changes of line ends that servers make (the digest `exact`).
 *
 * What is not there (quirks Q112, Q121): its number was given out, so somebody took it
 * away: it is not sent again. Its number was never given out, so the receipt was wrong
 * or the server went back in time: unless it was verified once it is in doubt again,
 * and the next run looks for it and sends it.
 */
#include <popferry/clock.h>
#include <popferry/fault.h>
#include <popferry/mem.h>

#include "verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

void verify_good(struct verifying *v, int64_t holder, int64_t folder)
{
	size_t i = first_of(v->set, holder);

	for (; v->set && i < v->set->n && v->set->v[i].holder == holder; i++) {
		v->set->v[i].good |= 1u << v->s->id;
		v->set->v[i].folder[v->s - v->e->slots] = folder;
	}
}

/* ---- what is told ---- */

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
	[R_UNDONE] = { "gone-there",
		"it was read back there once, and the destination knows nothing of it now; "
		"it is not sent again" },
	[R_DOUBT] = { "in-doubt",
		"it was sent, or was found missing, and nobody has looked since; if the source "
		"still has it the next run looks, and sends it again if it is not there" },
	[R_UNREAD] = { "unreadable-there", "it cannot be read back" },
	[R_DISPOSED] = { "disposed-there",
		"it was disposed of; the records in policy/ of the archive tell when and by "
		"whose authority" },
	[R_LOST] = { "not-found-there",
		"it is not known where it was put, and nothing like it was found" },
};

void verify_tell(struct verifying *v, int64_t id, uint64_t place, const char *folder,
	enum result r)
{
	const char *kind = told[r][0], *text = told[r][1];
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

/* ---- comparing ---- */

enum result verify_compare(const struct journal_row *row,
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

void verify_drop(struct verifying *v)
{
	if (v->fm)
		facts_end(&v->fm, NULL);
}

void verify_begin(void *verifying)
{
	struct verifying *v = verifying;

	verify_drop(v);
	v->got = 0;
	facts_begin(&v->fm);
}

void verify_take(void *verifying, const char *p, size_t n)
{
	struct verifying *v = verifying;

	v->got += (uint32_t)n;
	facts_put(v->fm, p, n);
}

static void read_end(void *ctx, size_t k, enum sink_found what)
{
	static const enum result results[] = {
		[FOUND_WHOLE] = R_EQUAL,
		[FOUND_GONE] = R_GONE,
		[FOUND_NEVER] = R_NEVER,
		[FOUND_UNREAD] = R_UNREAD,
		[FOUND_DISPOSED] = R_DISPOSED,
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
		r = rc == ST_OK ? verify_compare(&row, p, &theirs) : R_UNREAD;
		facts_release(&theirs);
	}
	verify_drop(v);
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
	if (moved) /* it may have been there, too, at another destination */
		v->cuts = (struct cuts){ 0 };
	cuts_note(&v->cuts, (uint64_t)v->page.v[first].id, v->got);
	if (v->result[first] == R_PENDING && !cuts_forgive(&v->cuts, *losses)) {
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
	struct sink_reading to = { verify_begin, verify_take, read_end, v };
	uint64_t places[JOURNAL_PAGE];
	size_t n, stuck = SIZE_MAX, k;
	unsigned losses = 0;
	bool alone = false;
	enum status rc = ST_OK;

	while ((n = pending(v, places, alone)) > 0) {
		if (atomic_load(&v->e->stop))
			return engine_stopped(err);
		rc = slot_open(v->e, v->s, err);
		v->got = 0;
		if (rc == ST_OK)
			rc = v->s->ops->read(v->s->sink, v->page.folder,
				v->page.generation, places, n, &to, err);
		verify_drop(v);
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

void verify_step(struct verifying *v)
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
	/* A receipt may be wrong, and the message be there all the same (quirk
	 * Q114). */
	if (r == R_LOST || (r == R_NEVER && !p->verified && v->s->ops->survey))
		return lost_add(v, p->id, r == R_NEVER, err);
	verify_step(v);
	if (r == R_EQUAL) {
		v->count->verified++;
		verify_good(v, p->id, v->page.folder_id);
		if (!p->verified)
			rc = journal_verified(v->e->journal, p->id, v->s->id, &p->at,
				clock_utc(), err);
		return rc < 0 ? rc : ST_OK;
	}
	if (r == R_DISPOSED)
		v->count->disposed++;
	else if (r == R_CHANGED || r == R_REWRITTEN)
		v->count->changed++;
	else if (r == R_UNREAD)
		v->count->unknown++;
	else
		v->count->missing++;
	/* What its user deletes is his affair once it was there for certain; and so is
	 * what an archive's records tell of. */
	if (!(r == R_GONE && p->verified) && r != R_DISPOSED)
		v->e->unverified++;
	if (r == R_NEVER && p->verified)
		r = R_UNDONE;
	if (r == R_NEVER)
		rc = journal_doubtful(v->e->journal, p->id, v->s->id, clock_utc(), err);
	if (rc == ST_OK)
		verify_tell(v, p->id, p->at.number, v->page.folder, r);
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

/* ---- all of a slot ---- */

static bool wanted(const struct verifying *v, const struct journal_placed *p)
{
	return v->what == VERIFY_ALL || (v->what == VERIFY_NEW && !p->verified) ||
		is_doomed(v->set, p->id);
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

/* What may be there or not is not there for certain. */
static enum status tell_doubts(struct verifying *v, struct err *err)
{
	char *folder = NULL;
	int64_t id = 0;
	enum status rc;

	while ((rc = journal_next_doubt(v->e->journal, v->s->id, &id, &folder, err)) ==
		ST_OK) {
		v->count->unknown++;
		verify_tell(v, id, 0, folder, R_DOUBT);
		free(folder);
		if (v->rc != ST_OK)
			return v->rc;
	}
	return rc == ST_END ? ST_OK : rc;
}

static enum status one_slot(struct verifying *v, struct err *err)
{
	enum status rc = v->what == VERIFY_ALL ? tell_doubts(v, err) : ST_OK;
	int unknown;

	for (unknown = 0; rc == ST_OK && unknown < 2; unknown++) {
		free(v->page.folder);
		v->page = (struct journal_page){ .unknown = unknown,
			.again = v->what == VERIFY_ALL || (v->set && v->set->n) };
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

enum status verify_places(struct engine *e, struct doomed_set *set, enum verify what,
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
	v->what = what;
	v->err = err;
	for (k = 0; rc == ST_OK && k < e->n_slots; k++) {
		v->s = &e->slots[k];
		slot_close(e, v->s); /* opened early, and not to look only */
		v->s->reading = true;
		v->s->attempts = 0;
		v->count = &out[k];
		*v->count = (struct checked){ .url = v->s->end->url };
		rc = one_slot(v, err);
		log_info(&e->log, "verified", LOG_S("dest", out[k].url),
			LOG_U("verified", out[k].verified),
			LOG_U("changed", out[k].changed),
			LOG_U("missing", out[k].missing),
			LOG_U("unknown", out[k].unknown),
			LOG_U("disposed", out[k].disposed));
	}
	free(v->page.folder);
	free(v->lost_folder);
	free(v->lost);
	free(v->seen);
	free(v);
	return rc;
}
