/* plan.c: what the journal knows already, and the rest in order. */
#include <popferry/mem.h>

#include "engine_p.h"

#include <stdlib.h>
#include <string.h>

/* Both sizes known and different: another message may have got this UIDL (Q12). */
static bool size_changed(const struct task *t, const struct journal_row *row)
{
	return t->size != UINT64_MAX && row->listed_size != UINT64_MAX &&
		t->size != row->listed_size;
}

static bool dated_out(const struct job *job, const struct journal_row *row)
{
	if (job->since && row->date && row->date < job->since)
		return true;
	return job->before && row->date && row->date >= job->before;
}

/* By the sizes of LIST alone, before anything is fetched. */
static bool sized_out(const struct job *job, const struct task *t)
{
	if (t->size == UINT64_MAX)
		return false;
	return (job->min_size && t->size < job->min_size) ||
		(job->max_size && t->size > job->max_size);
}

/* ---- names of one message ---- */

/* Which stored message a listed one is said to be. */
struct name {
	int64_t root, row; /* row: that of the name, its own or the root's */
	size_t task;
};
struct names {
	struct name *v;
	size_t n, cap;
};

static void note_name(struct engine *e, struct names *names, const struct task *t,
	const struct journal_row *row)
{
	if (e->job->dedup != DEDUP_NONE)
		return;
	if (names->n == names->cap) {
		names->cap += names->cap / 2 + 256;
		names->v = xreallocarray(names->v, names->cap, sizeof(*names->v));
	}
	names->v[names->n++] = (struct name){ row->of ? row->of : row->id, row->id,
		(size_t)(t - e->tasks.v) };
}

static int by_root(const void *ap, const void *bp)
{
	const struct name *a = ap, *b = bp;

	if (a->root != b->root)
		return a->root > b->root ? 1 : -1;
	return (a->row > b->row) - (a->row < b->row);
}

/*
 * Taken for one message under a new UIDL, and now both are listed: they are two, and
 * the second was never stored. Where equal messages are kept, it is fetched again.
 */
static enum status part_names(struct engine *e, struct names *names, struct err *err)
{
	enum status rc = ST_OK;
	int64_t root;
	size_t i;

	if (names->n)
		qsort(names->v, names->n, sizeof(*names->v), by_root);
	for (i = 1; rc >= 0 && i < names->n; i++) {
		const struct name *k = &names->v[i];

		if (k->root != names->v[i - 1].root)
			continue;
		/* Duplicates by content, from other runs, stay that. */
		rc = journal_root(e->journal, k->row, &root, err);
		if (rc != ST_OK)
			continue;
		e->tasks.v[k->task].parted = true;
		tasks_set(&e->tasks, &e->tasks.v[k->task], TASK_TODO);
	}
	return rc < 0 ? rc : ST_OK;
}

/* ---- what the journal knows ---- */

/* *doubtful: a sink may have it. */
static enum status everywhere(
	struct engine *e, int64_t id, bool *out, bool *doubtful, struct err *err)
{
	struct journal_row row;
	enum status rc = journal_get(e->journal, id, &row, err);

	if (rc < 0)
		return rc;
	/* Failed since then means only that it could not be fetched once more. */
	*out = rc == ST_OK && (row.state == J_TAKEN || row.state == J_FAILED) &&
		(row.stored & e->mask) == e->mask;
	*doubtful |= rc == ST_OK && (row.storing & e->mask);
	return ST_OK;
}

static enum status judge_row(struct engine *e, struct task *t,
	const struct journal_row *row, struct names *names, struct err *err)
{
	bool there = false, doubtful = (row->storing & e->mask) != 0;
	enum status rc = ST_OK;

	t->doubtful = doubtful;
	t->failed = row->state == J_FAILED;
	t->left_out = row->state == J_FILTERED;
	note_name(e, names, t, row);
	if (size_changed(t, row) || t->shared || t->parted)
		return ST_OK; /* fetch and compare */
	switch (row->state) {
	case J_TAKEN:
		there = (row->stored & e->mask) == e->mask;
		break;
	case J_DUPLICATE:
		rc = everywhere(e, row->of, &there, &doubtful, err);
		t->doubtful = doubtful;
		break;
	case J_FILTERED:
		if (row->has_content && dated_out(e->job, row))
			tasks_set(&e->tasks, t, TASK_FILTERED);
		break;
	case J_FAILED:
		break;
	}
	if (there) {
		tasks_set(&e->tasks, t, TASK_KNOWN);
		recall_note(e, row->of ? row->of : row->id);
		if (row->of)
			rc = story_place(e, t, row->of, err);
	}
	return rc;
}

struct planning {
	struct engine *e;
	struct names names;
	uint64_t named; /* messages with a UIDL that are still to do */
	uint64_t found; /* of those, in the journal */
};

static bool is_open(const struct task *t)
{
	return t->state == TASK_TODO && t->number;
}

static enum status found_one(struct planning *p, struct task *t,
	const struct journal_row *row, struct err *err)
{
	p->found++;
	return judge_row(p->e, t, row, &p->names, err);
}

static enum status walk_one(void *ctx, const char *uidl, size_t n, uint32_t occurrence,
	const struct journal_row *row, struct err *err)
{
	struct planning *p = ctx;
	struct task *t = tasks_find(&p->e->tasks, uidl, n, occurrence);

	return t && is_open(t) ? found_one(p, t, row, err) : ST_OK;
}

static enum status find_one(struct planning *p, struct task *t, struct err *err)
{
	struct journal_row row;
	struct journal_key key;
	enum status rc;

	tasks_key(&p->e->tasks, t, &key);
	rc = journal_find(
		p->e->journal, key.uidl, key.uidl_n, key.occurrence, &row, err);
	if (rc == ST_END)
		return ST_OK;
	return rc == ST_OK ? found_one(p, t, &row, err) : rc;
}

static enum status find_each(struct planning *p, struct err *err)
{
	struct tasks *all = &p->e->tasks;
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < all->n; i++)
		if (is_open(&all->v[i]) && all->v[i].has_uidl)
			rc = find_one(p, &all->v[i], err);
	return rc;
}

/* To find one costs as much as to pass by so many. */
enum { WALK_PACE = 8 };

/* One transaction for all look-ups: each its own would cost as much again. */
static enum status look_up(struct planning *p, uint64_t known, struct err *err)
{
	struct engine *e = p->e;
	enum status rc = journal_begin(e->journal, err);

	if (rc == ST_OK && p->named > known / WALK_PACE)
		rc = journal_walk(e->journal, walk_one, p, err);
	else if (rc == ST_OK)
		rc = find_each(p, err);
	if (rc == ST_OK)
		rc = part_names(e, &p->names, err);
	return rc == ST_OK ? journal_commit(e->journal, err) : rc;
}

/*
 * Messages that may already be at a destination come first: until they are
 * settled nothing may be called a duplicate of them, or they of another. Those that
 * failed before come last, for one that ends every session is among them; so do those
 * that another session refused. What a rule left out is likely to be left out again:
 * with --limit nothing waits behind it.
 */
enum { TURNS = 5 };

static unsigned turn_of(
	const struct engine *e, const struct task *t, const bool *had, size_t numbers)
{
	if (t->doubtful)
		return 0;
	if (t->failed || t->put_off)
		return 3;
	if (t->left_out && e->job->limit)
		return 4;
	return t->number < numbers && had[t->number] ? 2 : 1;
}

static size_t arrange(struct engine *e, uint32_t *order)
{
	const struct tasks *all = &e->tasks;
	size_t n = 0, i, numbers = 0;
	unsigned turn;
	bool *had;

	/* Where UIDLs change from session to session, what stood at this number was
	 * had. */
	for (i = 0; i < all->old; i++)
		if (all->v[i].missing && all->v[i].was >= numbers)
			numbers = (size_t)all->v[i].was + 1;
	had = xcalloc(numbers + 1, sizeof(*had));
	for (i = 0; i < all->old; i++)
		if (all->v[i].missing && all->v[i].state != TASK_VANISHED)
			had[all->v[i].was] = true;
	for (turn = 0; turn < TURNS; turn++)
		for (i = 0; i < all->n; i++) {
			const struct task *t = &all->v[i];

			if (t->state == TASK_TODO && t->number &&
				turn_of(e, t, had, numbers) == turn)
				order[n++] = (uint32_t)i;
		}
	free(had);
	return n;
}

/* --limit counts over the whole run, sessions and all. */
static size_t apply_limit(struct engine *e, size_t n)
{
	const uint64_t *count = e->tasks.count;
	uint64_t used = count[TASK_STORED] + count[TASK_DUPLICATE] + count[TASK_FAILED],
		 room;

	if (!e->job->limit)
		return n;
	room = e->job->limit > used ? e->job->limit - used : 0;
	e->limited = room < n;
	e->visits.beyond = room < n ? n - room : 0;
	return n - (size_t)e->visits.beyond;
}

static enum status judge_all(struct engine *e, uint64_t known, struct err *err)
{
	struct planning p = { .e = e };
	enum status rc = ST_OK;
	size_t i;

	e->visits.back = e->visits.unnamed = 0;
	for (i = 0; i < e->tasks.n; i++) {
		const struct task *t = &e->tasks.v[i];

		e->visits.unnamed += t->number && !t->has_uidl;
		e->visits.back += t->number && i < e->tasks.old;
		p.named += is_open(t) && t->has_uidl;
	}
	if (unchanged_since(e))
		p.found = p.named;
	else if (e->journal && p.named)
		rc = look_up(&p, known, err);
	/* What comes to be known by being fetched again is known to nobody before. */
	if (e->tasks.count[TASK_KNOWN] != e->tasks.n)
		e->seen[0] = '\0';
	free(p.names.v);
	e->visits.back += p.found;
	e->visits.unknown = e->journal ? p.named - p.found : 0;
	for (i = 0; rc == ST_OK && i < e->tasks.n; i++) {
		struct task *t = &e->tasks.v[i];

		if (is_open(t) && sized_out(e->job, t))
			tasks_set(&e->tasks, t, TASK_FILTERED);
	}
	return rc;
}

enum status plan_make(struct engine *e, struct source *src, struct listing *l,
	uint32_t **order, size_t *n, struct err *err)
{
	enum status rc;
	uint64_t bytes = 0, known = 0;
	size_t i;

	tasks_merge_begin(&e->tasks);
	rc = src->ops->list(src, tasks_merge, &e->tasks, l, err);
	if (rc != ST_OK) {
		tasks_merge_undo(&e->tasks);
		return rc;
	}
	tasks_merge_end(&e->tasks);
	recall_session(e);
	rc = engine_sound(e, err);
	if (rc == ST_OK && e->journal)
		rc = journal_count(e->journal, &known, err);
	if (rc == ST_OK)
		rc = judge_all(e, known, err);
	if (rc != ST_OK)
		return rc;
	e->visits.grown |= 2 * e->visits.unknown > known;
	*order = xcalloc(e->tasks.count[TASK_TODO] + 1, sizeof(uint32_t));
	*n = apply_limit(e, arrange(e, *order));
	for (i = 0; i < *n; i++)
		if (e->tasks.v[(*order)[i]].size != UINT64_MAX)
			bytes += e->tasks.v[(*order)[i]].size;
	pthread_mutex_lock(&e->lock);
	e->progress.total = e->progress.done + *n;
	e->progress.total_bytes = e->progress.done_bytes + bytes;
	e->progress.fetched = e->progress.done;
	e->progress.fetched_bytes = e->progress.done_bytes;
	pthread_mutex_unlock(&e->lock);
	return ST_OK;
}
