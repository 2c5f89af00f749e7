/*
 * story.h: what a run tells of itself to a sink that keeps a record of it: what the
 * source listed and said, and what became of it.
 */
#ifndef POPFERRY_STORY_H
#define POPFERRY_STORY_H

#include <popferry/err.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What became of a listed message, in the whole run. Each has exactly one. */
enum fate {
	FATE_LEFT, /* nothing yet */
	FATE_KNOWN,
	FATE_STORED,
	FATE_DUPLICATE,
	FATE_FILTERED,
	FATE_FAILED,
	FATE_VANISHED,
	FATE_RENAMED, /* another item's message under a new UIDL: counts for nothing */
	FATES,
};

struct story_item {
	enum fate fate;
	uint32_t number; /* in the latest listing; 0: it is not there */
	uint64_t size;   /* as listed; UINT64_MAX: unknown */
	uint64_t place;  /* in the sink; 0: unknown, or it has none */
	const char *uidl;
	size_t uidl_n; /* 0: it has none */
};

/* One that failed or vanished. Texts are clean, and may be "". */
struct story_failure {
	const char *uidl; /* bytes */
	size_t uidl_n;
	uint32_t number; /* 0: unknown */
	unsigned tries;
	uint64_t size; /* UINT64_MAX: unknown */
	int64_t at;    /* UTC seconds; 0: unknown */
	const char *message_id, *subject, *stage, *reason, *reply;
};

/* Good until the teller is asked again, or changes something. */
struct run_story {
	unsigned listings;   /* in this run until now; 0: nothing else is known */
	const char *account; /* the source's identity */
	const char *server;  /* what it said, a JSON object; NULL: it is no server */
	uint64_t stat_count; /* as it said in the latest session; UINT64_MAX: unknown */
	uint64_t stat_octets;
	uint64_t count[FATES];
	uint64_t octets; /* the sizes of all but those renamed */
	/* All of them, in an order that does not change, until each() returns other
	 * than ST_OK, which is returned. */
	enum status (*items)(void *ctx,
		enum status (*each)(
			void *to, const struct story_item *item, struct err *err),
		void *to, struct err *err);
	enum status (*failures)(void *ctx,
		void (*each)(void *to, const struct story_failure *f), void *to,
		struct err *err);
	void *ctx;
};

#endif
