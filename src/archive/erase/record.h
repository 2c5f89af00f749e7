/*
 * record.h: the records in policy/, each written once. See FORMAT.
 */
#ifndef ARCHIVE_RECORD_H
#define ARCHIVE_RECORD_H

#include "../form/vault.h"

#include <popferry/buf.h>

enum { RECORD_MAX = 64 * 1024 * 1024, RECORD_NO_MAX = 999999 };

/* An archive that is changed, but not added to. Who has it is the only one. */
struct keeper {
	int dir, opendir, segdir, lock;
	struct policy policy;
	struct vault vault;
	struct recipients *to; /* of an encrypted one */
};
/*
 * Finishes what an earlier one could not. ids read an encrypted archive, and must
 * outlive it; NULL or none: nobody does. ST_DENIED, EX_TEMPFAIL: somebody has it.
 */
enum status keeper_open(struct keeper *k, const char *path,
	const struct identities *ids, struct err *err);
/*
 * Before records or segments are written: finds out to whom, which are those who could
 * read before. ST_DENIED, EX_DATAERR: that was changed.
 */
enum status keeper_writes(struct keeper *k, const char *path, struct err *err);
void keeper_close(struct keeper *k);
/* The same for who has the lock already: a writer. */
enum status keeper_finish(struct keeper *k, struct err *err);

/* "policy/KIND-000001.json" */
void record_name(char out[FILE_NAME_MAX], const char *kind, unsigned no);

/* The numbers of the records of a kind, without gaps from 1: how many there are.
 * ST_DENIED, EX_DATAERR: one is missing. */
enum status record_count(unsigned *n, int dir, const char *kind, struct err *err);
/* One of them; *text is the caller's. */
enum status record_load(char **text, size_t *n, int dir, const char *kind, unsigned no,
	struct err *err);

/* Writes the next one of its kind, notes it in the custody log, and lists it. When that
 * fails the text says whether the record stands. */
enum status record_add(struct keeper *k, const char *kind, const char *event,
	const struct buf *text, unsigned *no, struct err *err);
/* The latter two, for one that stands there already. */
enum status record_note(struct keeper *k, const char *kind, const char *event,
	unsigned no, struct err *err);

/* What all of them have, in the order of the keys: agent, archive and at. */
void record_begin(struct buf *b, const struct keeper *k, int64_t now);

/* ---- "1-5,9" ---- */

struct range {
	uint64_t first, last;
};
struct ranges {
	struct range *p;
	size_t n;
};
/* One more; numbers come ascending. */
void ranges_add(struct ranges *r, uint64_t seq);
void ranges_text(struct buf *b, const struct ranges *r);
bool ranges_read(struct ranges *r, const char *text);
bool ranges_have(const struct ranges *r, uint64_t seq);
void ranges_free(struct ranges *r);

#endif
