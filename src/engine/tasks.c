/* tasks.c: every listed message and what became of it in this run. */
#include <popferry/mem.h>

#include "engine_p.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { TASKS_MORE = 256 };
_Static_assert(sizeof(struct task) <= 32, "a million of them are in memory");

void tasks_init(struct tasks *t)
{
	*t = (struct tasks){ 0 };
	/* UIDLs come from the server: a known hash could be flooded. */
	if (getrandom(&t->seed, sizeof(t->seed), GRND_NONBLOCK) < 0)
		t->seed = 0x9e3779b97f4a7c15u;
}

void tasks_release(struct tasks *t)
{
	free(t->v);
	free(t->text);
	free(t->heads);
	free(t->next);
	free(t->places);
	*t = (struct tasks){ 0 };
}

static uint64_t mix(uint64_t h)
{
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93u;
	h ^= h >> 32;
	return h;
}

static uint64_t hash_of(
	const struct tasks *t, const char *uidl, size_t n, uint32_t occurrence)
{
	uint64_t h = t->seed ^ occurrence;
	size_t i;

	for (i = 0; i < n; i++)
		h = (h ^ (unsigned char)uidl[i]) * 0x100000001b3u + (h >> 29);
	return mix(h ^ t->seed);
}

/*
 * A message without UIDL has no name that outlives a session; within a run its
 * number and size have to do, and its content decides what is stored.
 */
static uint64_t item_hash(const struct tasks *t, const struct item *it)
{
	uint32_t rank = it->uidl ? it->occurrence : it->number;

	return hash_of(t, it->uidl, it->uidl ? it->uidl_n : 0, rank);
}

static bool is_item(
	const struct tasks *t, const struct task *task, const struct item *it)
{
	if (!it->uidl)
		return !task->has_uidl && task->occurrence == it->number &&
			task->size == it->size;
	return task->has_uidl && task->uidl_n == it->uidl_n &&
		task->occurrence == it->occurrence &&
		memcmp(t->text + task->uidl, it->uidl, it->uidl_n) == 0;
}

static void rehash(struct tasks *t)
{
	size_t want = 256, i;

	while (want < t->n - t->n / 4)
		want *= 2;
	t->heads = xreallocarray(t->heads, want, sizeof(*t->heads));
	t->next = xreallocarray(t->next, t->n, sizeof(*t->next));
	memset(t->heads, 0, want * sizeof(*t->heads));
	t->mask = want - 1;
	t->unhashed = false;
	for (i = 0; i < t->n; i++) {
		const struct task *k = &t->v[i];
		uint32_t *head = &t->heads[hash_of(t, t->text + k->uidl, k->uidl_n,
						   k->occurrence) &
			t->mask];

		t->next[i] = *head;
		*head = (uint32_t)i + 1;
	}
}

static bool is_named(const struct tasks *t, const struct task *k, const char *uidl,
	size_t n, uint32_t occurrence)
{
	return k->has_uidl && k->uidl_n == n && k->occurrence == occurrence &&
		memcmp(t->text + k->uidl, uidl, n) == 0;
}

struct task *tasks_find(
	struct tasks *t, const char *uidl, size_t n, uint32_t occurrence)
{
	uint32_t i;

	/* Most ask in the order of the listing. */
	if (t->guess < t->n && is_named(t, &t->v[t->guess], uidl, n, occurrence))
		return &t->v[t->guess++];
	if (t->unhashed)
		rehash(t);
	i = t->heads ? t->heads[hash_of(t, uidl, n, occurrence) & t->mask] : 0;
	while (i && !is_named(t, &t->v[i - 1], uidl, n, occurrence))
		i = t->next[i - 1];
	if (!i)
		return NULL;
	t->guess = i;
	return &t->v[i - 1];
}

/* A number already given out in this listing is another message. */
static bool is_again(const struct tasks *t, size_t i, const struct item *it)
{
	return t->v[i].missing && is_item(t, &t->v[i], it);
}

/* The old task of this item. */
static struct task *find(struct tasks *t, const struct item *it)
{
	uint32_t i;

	if (!t->left)
		return NULL;
	/* Most listings have the order of the one before. */
	if (t->guess < t->old && is_again(t, t->guess, it))
		return &t->v[t->guess++];
	if (t->unhashed)
		rehash(t);
	i = t->heads[item_hash(t, it) & t->mask];
	while (i && !is_again(t, i - 1, it))
		i = t->next[i - 1];
	if (!i)
		return NULL;
	t->guess = i;
	return &t->v[i - 1];
}

static struct task *append(struct tasks *t, const struct item *it)
{
	struct task *k;

	if (t->n == t->cap) {
		/* compact() may have left room for one only. */
		t->cap += t->cap / 2 + TASKS_MORE;
		t->v = xreallocarray(t->v, t->cap, sizeof(*t->v));
	}
	if (it->uidl_n > UINT32_MAX - t->text_n)
		xmemory_gone();
	if (it->uidl_n > t->text_cap - t->text_n) {
		t->text_cap = t->text_cap + t->text_cap / 2 + it->uidl_n + 64 * 1024;
		t->text = xrealloc(t->text, t->text_cap);
	}
	k = &t->v[t->n++];
	*k = (struct task){
		.size = it->size,
		.uidl = (uint32_t)t->text_n,
		.uidl_n = it->uidl ? it->uidl_n : 0,
		.occurrence = it->uidl ? it->occurrence : it->number,
		.has_uidl = it->uidl != NULL,
		.state = TASK_TODO,
	};
	if (k->uidl_n)
		memcpy(t->text + t->text_n, it->uidl, k->uidl_n);
	t->text_n += k->uidl_n;
	t->count[TASK_TODO]++;
	return k;
}

static void compact(struct tasks *t)
{
	/* Growing by half leaves slack that a million messages would feel. */
	t->v = xreallocarray(t->v, t->n ? t->n : 1, sizeof(*t->v));
	t->cap = t->n;
	t->text = xrealloc(t->text, t->text_n ? t->text_n : 1);
	t->text_cap = t->text_n;
}

void tasks_merge_begin(struct tasks *t)
{
	size_t i;

	for (i = 0; i < t->n; i++) {
		t->v[i].missing = true;
		t->v[i].shared = false;
		t->v[i].was = t->v[i].number;
		t->v[i].number = 0;
	}
	t->unhashed = true;
	t->old = t->left = t->n;
	t->guess = 0;
}

void tasks_merge(void *tasks, const struct item *it)
{
	struct tasks *t = tasks;
	struct task *k = find(t, it);

	if (k)
		t->left--;
	else
		k = append(t, it);
	k->missing = false;
	k->number = it->number;
	k->size = it->size;
	if (k->state == TASK_VANISHED) /* it came back */
		tasks_set(t, k, TASK_TODO);
}

/*
 * After a lost session: have all UIDLs changed, and nothing else? The indexes + 1 of
 * the new tasks by number, or NULL.
 */
static uint32_t *renamed(const struct tasks *t)
{
	size_t i, before = 0, back = 0, top = 0;
	uint32_t *by_number;

	for (i = 0; i < t->old; i++) {
		before += t->v[i].was > 0;
		back += t->v[i].was && !t->v[i].missing;
	}
	if (!t->cut || !before || back * 10 >= before)
		return NULL;
	for (i = t->old; i < t->n; i++)
		top = t->v[i].number > top ? t->v[i].number : top;
	by_number = xcalloc(top + 1, sizeof(*by_number));
	for (i = t->old; i < t->n; i++)
		by_number[t->v[i].number] = (uint32_t)i + 1;
	for (i = 0; i < t->old; i++) {
		const struct task *k = &t->v[i];

		if (!k->was || !k->missing)
			continue;
		if (k->was > top || !by_number[k->was] ||
			t->v[by_number[k->was] - 1].size != k->size) {
			free(by_number);
			return NULL;
		}
	}
	return by_number;
}

/* Each old task takes over the place of the new one with its number. */
static void rename_all(struct tasks *t)
{
	uint32_t *by_number = renamed(t);
	size_t i, n = t->old;

	if (!by_number)
		return;
	for (i = 0; i < t->old; i++) {
		struct task *k = &t->v[i], *as;

		if (!k->was || !k->missing)
			continue;
		as = &t->v[by_number[k->was] - 1];
		k->number = as->number;
		k->uidl = as->uidl;
		k->uidl_n = as->uidl_n;
		k->occurrence = as->occurrence;
		k->has_uidl = as->has_uidl;
		k->missing = false;
		as->number = 0;
	}
	for (i = t->old; i < t->n; i++)
		if (t->v[i].number)
			t->v[n++] = t->v[i];
	t->count[TASK_TODO] -= t->n - n;
	t->n = n;
	t->unhashed = true;
	free(by_number);
}

/* Those that have a UIDL together. */
static void mark_shared(struct tasks *t)
{
	struct task *first;
	size_t i;

	for (i = 0; i < t->n; i++) {
		struct task *k = &t->v[i];

		if (!k->number || !k->has_uidl || k->occurrence < 2)
			continue;
		k->shared = true;
		first = k->occurrence == 2
			? tasks_find(t, t->text + k->uidl, k->uidl_n, 1)
			: NULL;
		if (first)
			first->shared = true;
	}
}

void tasks_merge_end(struct tasks *t)
{
	size_t i;

	t->unhashed |= t->n > t->old;
	rename_all(t);
	compact(t);
	mark_shared(t);
	for (i = 0; i < t->old; i++)
		if (t->v[i].missing && t->v[i].state == TASK_TODO)
			tasks_set(t, &t->v[i], TASK_VANISHED);
}

void tasks_merge_undo(struct tasks *t)
{
	size_t i;

	for (i = 0; i < t->old; i++) {
		t->v[i].number = t->v[i].was;
		t->v[i].missing = false;
	}
	mark_shared(t);
}

void tasks_set(struct tasks *t, struct task *task, enum task_state state)
{
	t->count[task->state]--;
	task->state = (uint8_t)state;
	t->count[state]++;
}

void tasks_place(struct tasks *t, const struct task *task, uint64_t place)
{
	size_t i = (size_t)(task - t->v);

	if (i >= t->n_places && place) {
		t->places = xreallocarray(t->places, t->n, sizeof(*t->places));
		memset(t->places + t->n_places, 0,
			(t->n - t->n_places) * sizeof(*t->places));
		t->n_places = t->n;
	}
	if (i < t->n_places)
		t->places[i] = (uint32_t)place;
}

uint32_t tasks_placed(const struct tasks *t, const struct task *task)
{
	size_t i = (size_t)(task - t->v);

	return i < t->n_places ? t->places[i] : 0;
}

void tasks_key(const struct tasks *t, const struct task *task, struct journal_key *out)
{
	*out = (struct journal_key){
		.uidl = task->has_uidl ? t->text + task->uidl : NULL,
		.uidl_n = task->uidl_n,
		.occurrence = task->occurrence,
		.listed_size = task->size,
	};
}

/* ---- messages without UIDL ---- */

/* Open addressing: the slot that holds the id, or the free one for it. */
static int64_t *given_slot(const struct engine *e, int64_t id)
{
	size_t i = mix((uint64_t)id) & (e->cap_given - 1);

	while (e->given[i] && e->given[i] != id)
		i = (i + 1) & (e->cap_given - 1);
	return &e->given[i];
}

bool nameless_given(const struct engine *e, int64_t id)
{
	return e->cap_given && *given_slot(e, id);
}

static void grow_given(struct engine *e)
{
	int64_t *old = e->given;
	size_t cap = e->cap_given, i;

	e->cap_given = cap ? 2 * cap : 1024;
	e->given = xcalloc(e->cap_given, sizeof(*e->given));
	for (i = 0; i < cap; i++)
		if (old[i])
			*given_slot(e, old[i]) = old[i];
	free(old);
}

void nameless_give(struct engine *e, const struct parcel *p)
{
	const struct task *t = &e->tasks.v[p->task];
	int64_t *slot;

	if ((t->has_uidl && !t->shared) || !p->run->id)
		return;
	if (2 * e->n_given >= e->cap_given)
		grow_given(e);
	slot = given_slot(e, p->run->id);
	e->n_given += !*slot;
	*slot = p->run->id;
}
