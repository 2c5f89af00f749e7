/*
 * story_kit.h: a run that tells of itself, for tests that have none.
 */
#ifndef STORY_KIT_H
#define STORY_KIT_H

#include <popferry/mem.h>
#include <popferry/story.h>

#include <string.h>

struct teller {
	const struct story_item *items;
	size_t n;
	const struct story_failure *failures;
	size_t failures_n;
	uint64_t lie; /* so many more are said to be stored */
	const char *server;
};

static enum status teller_items(void *ctx,
	enum status (*each)(void *to, const struct story_item *item, struct err *err),
	void *to, struct err *err)
{
	const struct teller *t = ctx;
	enum status rc = ST_OK;
	size_t i;

	for (i = 0; rc == ST_OK && i < t->n; i++)
		rc = each(to, &t->items[i], err);
	return rc;
}

static enum status teller_failures(void *ctx,
	void (*each)(void *to, const struct story_failure *f), void *to,
	struct err *err)
{
	const struct teller *t = ctx;
	size_t i;

	(void)err;
	for (i = 0; i < t->failures_n; i++)
		each(to, &t->failures[i]);
	return ST_OK;
}

static void teller_story(void *ctx, struct run_story *out)
{
	const struct teller *t = ctx;
	size_t i;

	*out = (struct run_story){ .listings = 1,
		.account = "pop3:ann@pop.example.org",
		.server = t->server,
		.stat_count = t->n,
		.stat_octets = UINT64_MAX,
		.items = teller_items,
		.failures = teller_failures,
		.ctx = ctx };
	for (i = 0; i < t->n; i++) {
		out->count[t->items[i].fate]++;
		if (t->items[i].size != UINT64_MAX && t->items[i].fate != FATE_RENAMED)
			out->octets += t->items[i].size;
	}
	out->count[FATE_STORED] += t->lie;
}

/* One of each fate, and names that no table likes. */
static const struct story_item story_items[] = {
	{ FATE_STORED, 1, 100, 1, "u\"0", 3 },
	{ FATE_STORED, 2, UINT64_MAX, 2, "a\tb\\\0\xff \n-", 9 },
	{ FATE_KNOWN, 3, 300, 0, "known", 5 },
	{ FATE_DUPLICATE, 4, 400, 0, NULL, 0 },
	{ FATE_FILTERED, 5, 500, 0, "-", 1 },
	{ FATE_FAILED, 6, 600, 3, "failed,\"x", 9 },
	{ FATE_VANISHED, 0, 700, 0, "gone", 4 },
	{ FATE_LEFT, 8, 0, 0, "left", 4 },
	{ FATE_RENAMED, 0, 999, 0, "other", 5 },
};
static const struct story_failure story_failures[] = {
	{ "failed,\"x", 9, 6, 3, 600, 1700000000, "<a@b>", "=?utf-8?q?=41?=", "store",
		"refused: \"no\",\r\nnot\0this", "-ERR \xff" },
	{ "gone", 4, 0, 0, UINT64_MAX, 0, "", "", "retrieve", "gone", "" },
};
#define STORY_SERVER "{\"capa\":null,\"host\":\"pop.example.org\"}"
#define STORY_TELLER \
	{ \
		.items = story_items, .n = N_ELEMENTS(story_items), \
		.failures = story_failures, .failures_n = N_ELEMENTS(story_failures), \
		.server = STORY_SERVER \
	}

#endif
