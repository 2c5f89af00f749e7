/* scan.h: FETCH responses, for scan.c and fetch.c. */
#ifndef IMAP_SCAN_H
#define IMAP_SCAN_H

#include "session.h"

enum item { IT_OTHER, IT_UID, IT_SIZE, IT_BODY };

struct fetch {
	mail_take *take; /* bytes of a body section */
	void *ctx;
	uint32_t uid;
	uint64_t size;
	bool has_uid, has_body, nil;
	/* where we are between two lines */
	enum item item; /* the value awaited, when in_value */
	bool in_value, ended;
	unsigned depth; /* of lists in the value */
};

typedef void fetch_each(void *ctx, const struct fetch *f);

/*
 * Sends the command and shows each FETCH response before its first item and after its
 * last; f->take gets body sections as they come. *r is the tagged reply.
 */
enum status scan_fetch(struct imap *i, const char *command, struct fetch *f,
	fetch_each *before, fetch_each *after, void *ctx, struct reply *r,
	struct err *err);

#endif
