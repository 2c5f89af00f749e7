/* remove.h: what the files that delete at the source share. */
#ifndef ENGINE_REMOVE_H
#define ENGINE_REMOVE_H

#include "engine_p.h"

enum { KEPT_MAX = 2 }; /* times a message may stay although the source agreed */

struct ids {
	int64_t *v;
	size_t n, cap;
};

struct remover {
	struct engine *e;
	struct doomed_set set;    /* what the run's listing has, ascending */
	struct doomed_set now;    /* what is found in one listing, by number */
	struct ids banned;        /* rows whose UIDL others in the listing have too */
	struct ids still;         /* asked for, and still listed */
	struct ids gone;          /* asked for, and found to be gone by this listing */
	struct ids back;          /* gone once, and listed again */
	struct ids proven;        /* folders in which one outlived its deletion */
	struct doomed_set probes; /* those that are to, in this session */
	bool trusted;             /* no probe was needed last */
	int64_t asked_at;         /* clock of the batch the source agreed to; 0: none */
	uint64_t deleted, kept;
	uint64_t withdrawn; /* of the set, that turned out not to be what was thought */
	struct cuts cuts;   /* of sessions that fetch once more, by rows */
	size_t want;        /* find so many in a listing */
	int64_t time;
	enum status rc; /* in callbacks */
	struct err *err;
};

/* ---- doomed.c ---- */

void ids_add(struct ids *l, int64_t id);
void ids_sort(struct ids *l);
bool ids_has(const struct ids *l, int64_t id); /* of a sorted one */

/* By what the listing says of it. */
bool doomed_may_be(const struct journal_key *k, uint32_t number);
int doomed_order(const void *a, const void *b); /* of a set */
/* The one of the set with this holder and id, or NULL. */
struct doomed *doomed_find(const struct doomed_set *s, const struct doomed *d);
void doomed_add(struct doomed_set *s, const struct doomed *d);

/* A listing: r->now is what may go of it. want SIZE_MAX and no r->set: whatever may. */
void doomed_begin(struct remover *r, size_t want);
void doomed_see(void *remover, const struct item *it);
void doomed_end(struct remover *r);
/* The same with the run's own listing. */
enum status doomed_tasks(struct remover *r, struct err *err);

/* ---- prove.c ---- */

/*
 * Before anything is asked for: fetches all of r->now once more, and lets only those
 * stay in it that are what was stored, to the byte. *abandon: something else came, and
 * the session must not be ended by QUIT, for there are servers that delete what was
 * fetched.
 */
enum status prove_same(
	struct remover *r, struct source *src, bool *abandon, struct err *err);

/*
 * Is the source the very mailbox that is the destination? Then what is deleted is gone
 * from there too. In a folder where nothing was deleted before, one goes first: r->now
 * is cut down to those, or to `most` when all folders are proven.
 */
enum status prove_begin(struct remover *r, size_t most, struct err *err);
/* After the listing that shows what is gone. ST_DENIED: a probe is gone there too. */
enum status prove_end(struct remover *r, struct err *err);

#endif
