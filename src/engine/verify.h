/* verify.h: what the files that read destinations back share. */
#ifndef ENGINE_VERIFY_H
#define ENGINE_VERIFY_H

#include "engine_p.h"

enum result {
	R_PENDING,
	R_LEFT, /* need not be read */
	R_EQUAL,
	R_REWRITTEN, /* the same body under another header */
	R_CHANGED,
	R_GONE,
	R_NEVER,
	R_UNDONE, /* the same of what was verified once */
	R_DOUBT,  /* it was never certain that it is there */
	R_UNREAD,
	R_DISPOSED,
	R_LOST, /* its place says nothing now: look for its content */
};

/* One whose place is not known, to be found by content. */
struct stray {
	uint64_t ident; /* first bytes of the digest */
	int64_t id;
	bool found;
	bool never; /* it has a place, which the destination never gave out */
};

struct sighting {
	uint64_t place, ident;
};

struct verifying {
	struct engine *e;
	struct slot *s;
	struct checked *count;
	struct doomed_set *set;
	enum verify what;
	struct journal_page page;
	enum result result[JOURNAL_PAGE];
	size_t which[JOURNAL_PAGE]; /* of the page, what read() was asked for */
	struct facts_maker *fm;
	enum status rc; /* of the journal, in callbacks */
	struct err *err;
	uint32_t got;     /* bytes of the last one */
	struct cuts cuts; /* of sessions, by rows */
	unsigned unread;  /* given up, in a row */

	struct stray *lost; /* of one folder */
	size_t n_lost, cap_lost;
	char *lost_folder;
	int64_t lost_folder_id;
	struct sighting *seen;
	size_t n_seen, cap_seen, at_seen;
	uint64_t seen_generation;
};

/* The message is as it should be in this folder (its id), said to the doomed. */
void verify_good(struct verifying *v, int64_t holder, int64_t folder);
/* Tells a finding, by what R_... says; v->rc has what went wrong. */
void verify_tell(struct verifying *v, int64_t id, uint64_t place, const char *folder,
	enum result r);
enum result verify_compare(const struct journal_row *row,
	const struct journal_placed *p, const struct facts *theirs);
void verify_step(struct verifying *v);

/* For struct sink_reading; drop: what was taken last belongs to none. */
void verify_begin(void *verifying);
void verify_take(void *verifying, const char *p, size_t n);
void verify_drop(struct verifying *v);

/* ---- lost.c ---- */

/* One to be looked for. */
enum status lost_add(struct verifying *v, int64_t id, bool never, struct err *err);
/* The lost of one folder are looked for together: this one is next, or none (NULL). */
enum status lost_in(struct verifying *v, const char *folder, struct err *err);

#endif
