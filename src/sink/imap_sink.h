/* imap_sink.h: what imap.c, imap_read.c, find.c and table.c share. */
#ifndef IMAP_SINK_H
#define IMAP_SINK_H

#include <popferry/imap.h>

#include "sinks.h"

/* So many OKs without a receipt are looked after. */
enum { UNSAID_MAX = 3 };

struct table;

struct imap_sink {
	struct sink base;
	struct imap *imap;
	const struct log *log;
	enum dedup dedup;
	uint64_t (*expected)(
		void *ctx); /* bytes to come; NULL: compared with the quota */
	bool (*alone)(void *ctx, const struct facts *f); /* of struct sink_setup */
	unsigned (*copies)(void *ctx, const struct facts *f);
	bool (*rival)(void *ctx, const struct facts *ours, const struct facts *theirs);
	void *ask_ctx;
	int look_ms;                  /* of struct sink_setup */
	unsigned unsaid;              /* messages found that an OK told no receipt of */
	struct imap_append **jobs;    /* owned; pending ones */
	struct delivery **deliveries; /* beside jobs */
	size_t n, cap;
	struct table *tables;                    /* one a mailbox, a list */
	const struct imap_mailbox *last_mailbox; /* of the latest receipt */
	uint32_t last_uid;                       /* that it gave */
};

/* Reading back (imap_read.c): of struct sink_ops. */
enum status imap_sink_read(struct sink *s, const char *folder, uint64_t generation,
	const uint64_t *places, size_t n, const struct sink_reading *to,
	struct err *err);
enum status imap_sink_survey(struct sink *s, const char *folder,
	void (*each)(void *ctx, const struct sink_seen *seen), void *ctx,
	struct err *err);

/* What is in each mailbox, read once and then kept up to date (table.c). */
void imap_table_claim(struct imap_sink *s, const struct imap_mailbox *mb,
	uint64_t generation, uint64_t uid, const unsigned char exact[DIGEST]);
void imap_tables_free(struct imap_sink *s);
/* IMAP forces line ends at the end and on bare LF, and forbids NUL. */
bool imap_altered(const struct message *m);
/* Looks for a message in it (find.c). */
enum status imap_table_find(struct imap_sink *s, struct delivery *d,
	const struct sink_floor *from, int64_t until_ms, struct err *err);

#endif
