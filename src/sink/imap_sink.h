/* imap_sink.h: what imap.c, imap_read.c, find.c and table.c share. */
#ifndef IMAP_SINK_H
#define IMAP_SINK_H

#include <popferry/imap.h>

#include "sinks.h"

#include <pthread.h>

/* So many OKs without a receipt are looked after. */
enum { UNSAID_MAX = 3 };

enum { LANES_MAX = 16 };

struct table;

/* A session that stores (lanes.c). */
struct lane {
	struct imap *imap;
	/* Not of the first session: the latest mailbox, as the first has it and as this
	 * one has it. */
	const struct imap_mailbox *home, *mailbox;
	const struct imap_mailbox *last_mailbox; /* of the latest receipt */
	uint32_t last_uid;                       /* that it gave */
};

/* A message that was put, and is not settled. */
struct upload {
	struct imap_append append;          /* its mailbox is that of its own session */
	const struct imap_mailbox *mailbox; /* the same, of the first */
	struct delivery *delivery;
	struct lane *lane;
};

struct imap_sink {
	struct sink base;
	struct imap *imap; /* the first session, which does all but store */
	struct imap_config cfg;
	const struct log *log;
	enum dedup dedup;
	uint64_t (*expected)(
		void *ctx); /* bytes to come; NULL: compared with the quota */
	bool (*alone)(void *ctx, const struct facts *f); /* of struct sink_setup */
	unsigned (*copies)(void *ctx, const struct facts *f);
	bool (*rival)(void *ctx, const struct facts *ours, const struct facts *theirs);
	void *ask_ctx;
	int look_ms;          /* of struct sink_setup */
	unsigned unsaid;      /* messages found that an OK told no receipt of */
	struct upload **jobs; /* owned; pending ones, in their order */
	size_t n, cap;
	struct table *tables;        /* one a mailbox, a list */
	struct lane lane[LANES_MAX]; /* the first session is lane 0 */
	unsigned n_lanes;            /* open ones; changed under the lock */
	unsigned most_lanes, turn, waited;
	unsigned *crowded; /* of struct sink_setup */
	int wait_ms;       /* that a lane was told which is no more */
	bool refused;      /* see imap_refused(): the same */
	bool cancelled;    /* under the lock */
	pthread_mutex_t lock;
};

/*
 * Where a server takes a message only after "+", each costs a round trip, and several
 * sessions that take turns cost it together (lanes.c).
 */
void lanes_init(struct imap_sink *s, const struct sink_setup *setup);
/* The session that stores the next message; may open another one. */
struct lane *lanes_next(struct imap_sink *s, const struct imap_append *a);
/* What follows gives ST_RETRY and ST_DENIED as imap_append() does, for any of them:
 * then what is known is to be settled, and all but the first dropped. */
enum status lanes_put(struct imap_sink *s, struct upload *u, struct err *err);
/* What was announced anywhere gets its text; and nothing is pending any more. */
enum status lanes_send(struct imap_sink *s, struct err *err);
enum status lanes_finish(struct imap_sink *s, struct err *err);
enum status lanes_await(struct imap_sink *s, const struct upload *u, struct err *err);
/* A call for this lane ended so: remembers what it was told. */
void lanes_blame(struct imap_sink *s, const struct lane *lane, enum status rc);
void lanes_drop(struct imap_sink *s);
int lanes_wait_ms(struct imap_sink *s);
/* From another thread. */
void lanes_cancel(struct imap_sink *s);
/* The first too. */
void lanes_close(struct imap_sink *s);

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
