/* imap_sink.h: what imap.c and find.c share. */
#ifndef IMAP_SINK_H
#define IMAP_SINK_H

#include <popferry/imap.h>

#include "sinks.h"

struct finder;

struct imap_sink {
	struct sink base;
	struct imap *imap;
	const struct log *log;
	enum dedup dedup;
	struct imap_append **jobs;    /* owned; pending ones */
	struct delivery **deliveries; /* beside jobs */
	size_t n, cap;
	struct finder *finders;                  /* one a mailbox, a list */
	const struct imap_mailbox *last_mailbox; /* of the latest receipt */
	uint32_t last_uid;                       /* that it gave */
};

/* What is in each mailbox, read once and then kept up to date. */
void imap_finder_claim(struct imap_sink *s, const struct imap_mailbox *mb,
	uint64_t generation, uint64_t uid);
enum status imap_finder_find(struct imap_sink *s, struct delivery *d,
	const struct sink_floor *from, int64_t patience_ms, struct err *err);
void imap_finder_free(struct imap_sink *s);

#endif
