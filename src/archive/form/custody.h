/*
 * custody.h: the log of what was done with the archive, each line chained to the one
 * before. See FORMAT.
 */
#ifndef ARCHIVE_CUSTODY_H
#define ARCHIVE_CUSTODY_H

#include "layout.h"

/* How many events there are, and the digest of the last; zeros: none. */
struct custody_head {
	uint64_t events;
	unsigned char sha[DIGEST];
};

/* One more. detail is a JSON object. */
struct custody_event {
	const char *event, *object, *detail;
	int64_t now;
	bool once; /* not if the last event is this one of this object */
};

/* dir is the archive's. ST_DENIED, EX_DATAERR: the log is damaged at its end, or not
 * what its anchor tells of. */
enum status custody_add(int dir, const struct custody_event *e, struct err *err);
enum status custody_last(int dir, struct custody_head *out, struct err *err);

/* How far the log went at least: log/custody.head. ST_END: there is none, as in
 * archives of versions before it, or of one event. */
enum status custody_anchor(int dir, struct custody_head *out, struct err *err);

/* "user@host", as JSON: {"host":..,"user":..} */
void custody_operator(struct buf *b);

/*
 * Reads the chain through; each event goes to each(). ST_END: there is
 * no log. A finding goes to bad() and ends it, ST_OK; *out is how far it was good. So
 * does it when that is not what the anchor tells of.
 */
enum status custody_check(int dir, struct custody_head *out,
	void (*each)(void *ctx, const struct custody_head *at, const char *line),
	void (*bad)(void *ctx, const char *what), void *ctx, struct err *err);

#endif
