/* story.c: what the run tells of itself to a destination that keeps a record. */
#include <popferry/mem.h>

#include "engine_p.h"

#include <stdlib.h>
#include <string.h>

enum { SERVER_MAX = 1024 * 1024 };

void story_heard(struct engine *e, struct source *src, const struct listing *l)
{
	struct buf b = BUF_INIT(SERVER_MAX);

	free(e->heard.server);
	e->heard.server = NULL;
	if (src->ops->said) {
		src->ops->said(src, &b);
		e->heard.server = buf_take(&b);
	}
	e->heard.listings++;
	e->heard.stat_count = l->stat ? l->stat_count : UINT64_MAX;
	e->heard.stat_octets = l->stat ? l->stat_octets : UINT64_MAX;
}

/* ---- asked by a sink ---- */

static const enum fate fates[TASK_STATES] = {
	[TASK_TODO] = FATE_LEFT,
	[TASK_KNOWN] = FATE_KNOWN,
	[TASK_STORED] = FATE_STORED,
	[TASK_DUPLICATE] = FATE_DUPLICATE,
	[TASK_FILTERED] = FATE_FILTERED,
	[TASK_FAILED] = FATE_FAILED,
	[TASK_VANISHED] = FATE_VANISHED,
	[TASK_RENAMED] = FATE_RENAMED,
};

static void item_of(struct story_item *it, const struct tasks *all,
	const struct task *t, bool placed)
{
	*it = (struct story_item){
		.fate = fates[t->state],
		.number = t->number,
		.size = t->size,
		.place = placed ? tasks_placed(all, t) : 0,
		.uidl = all->text + t->uidl,
		.uidl_n = t->uidl_n,
	};
}

static enum status tell_items(void *ctx,
	enum status (*each)(void *to, const struct story_item *item, struct err *err),
	void *to, struct err *err)
{
	const struct slot *s = ctx;
	const struct engine *e = s->engine;
	bool placed = (size_t)(s - e->slots) == e->recorder;
	struct story_item it;
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < e->tasks.n; i++) {
		item_of(&it, &e->tasks, &e->tasks.v[i], placed);
		rc = each(to, &it, err);
	}
	return rc;
}

struct relay {
	void (*each)(void *to, const struct story_failure *f);
	void *to;
};

static void relay_failure(void *ctx, const struct journal_failure *f)
{
	const struct relay *r = ctx;

	r->each(r->to,
		&(struct story_failure){ .uidl = f->uidl,
			.uidl_n = f->uidl_n,
			.number = f->number,
			.tries = f->tries,
			.size = f->size,
			.at = f->at,
			.message_id = f->message_id,
			.subject = f->subject,
			.stage = f->stage,
			.reason = f->reason,
			.reply = f->reply });
}

static enum status tell_failures(void *ctx,
	void (*each)(void *to, const struct story_failure *f), void *to,
	struct err *err)
{
	const struct slot *s = ctx;
	const struct tasks *all = &s->engine->tasks;
	struct relay r = { each, to };
	enum status rc = journal_failures(
		s->engine->journal, s->engine->run, relay_failure, &r, err);
	size_t i;

	for (i = 0; rc == ST_OK && i < all->n; i++) {
		const struct task *t = &all->v[i];

		if (t->state == TASK_VANISHED)
			each(to,
				&(struct story_failure){ .uidl = all->text + t->uidl,
					.uidl_n = t->uidl_n,
					.size = t->size,
					.message_id = "",
					.subject = "",
					.stage = "retrieve",
					.reason =
						"listed, and gone before it was fetched",
					.reply = "" });
	}
	return rc;
}

void story_tell(void *slot, struct run_story *out)
{
	const struct slot *s = slot;
	const struct engine *e = s->engine;
	size_t i;

	*out = (struct run_story){
		.listings = e->heard.listings,
		.account = e->account,
		.server = e->heard.server,
		.stat_count = e->heard.stat_count,
		.stat_octets = e->heard.stat_octets,
		.items = tell_items,
		.failures = tell_failures,
		.ctx = slot,
	};
	for (i = 0; i < TASK_STATES; i++)
		out->count[fates[i]] = e->tasks.count[i];
	for (i = 0; i < e->tasks.n; i++)
		if (e->tasks.v[i].state != TASK_RENAMED &&
			e->tasks.v[i].size != UINT64_MAX)
			out->octets += e->tasks.v[i].size;
}

enum status story_place(struct engine *e, struct task *t, int64_t id, struct err *err)
{
	struct place at = { 0, 0 };
	enum status rc = ST_OK;

	if (e->recorder < e->n_slots)
		rc = journal_place(e->journal, id, e->slots[e->recorder].id, &at, err);
	if (rc >= ST_OK)
		tasks_place(&e->tasks, t, at.number);
	return rc < ST_OK ? rc : ST_OK;
}

/* ---- deletion ---- */

static enum status fill(struct engine *e, const struct slot *s, struct story_item *it,
	int64_t id, struct err *err)
{
	struct journal_row row;
	struct place at = { 0, 0 };
	char *uidl = NULL;
	enum status rc = journal_get(e->journal, id, &row, err);

	if (rc == ST_OK)
		rc = journal_place(e->journal, row.of ? row.of : id, s->id, &at, err);
	if (rc >= ST_OK)
		rc = journal_uidl(e->journal, id, &uidl, &it->uidl_n, err);
	it->place = at.number;
	it->size = row.listed_size;
	it->uidl = uidl;
	return rc;
}

static enum status tell_slot(struct engine *e, const struct slot *s, const int64_t *ids,
	size_t n, struct err *err)
{
	struct story_item *v = xcalloc(n, sizeof(*v));
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < n; i++)
		rc = fill(e, s, &v[i], ids[i], err);
	if (rc == ST_OK)
		rc = s->ops->removed(s->end, e->account, v, n, err);
	for (i = 0; i < n; i++)
		free((void *)(uintptr_t)v[i].uidl);
	free(v);
	return rc;
}

enum status story_removed(
	struct engine *e, const int64_t *ids, size_t n, struct err *err)
{
	enum status rc = ST_OK;
	size_t k;

	for (k = 0; rc == ST_OK && n && k < e->n_slots; k++)
		if (e->slots[k].ops->removed)
			rc = tell_slot(e, &e->slots[k], ids, n, err);
	return rc;
}
