/*
 * sink.h: where messages go. One contract, one small file a kind.
 *
 * put() may return with a message still on its way; commit() returns only when every
 * message put so far is durable or refused, with its receipt, and await() when one is.
 * The journal says "stored" only after that. find() answers after a crash whether a put
 * got through, and before the first upload whether an earlier migration left the
 * message there.
 *
 * Status: ST_RETRY closes and reopens the sink and everything put and not
 * settled is in doubt; ST_DENIED stops the job with advice (quota, login).
 *
 * Threads: as for a source.
 */
#ifndef POPFERRY_SINK_H
#define POPFERRY_SINK_H

#include <popferry/config.h>
#include <popferry/err.h>
#include <popferry/mail.h>
#include <popferry/net.h>
#include <popferry/story.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sink;

enum delivery_outcome {
	DELIVERY_PENDING, /* not known (yet) */
	DELIVERY_STORED,  /* durable; the receipt is filled */
	DELIVERY_REFUSED, /* proof that it is not there; err says why */
};

/* For what a message was refused. */
enum delivery_cause {
	REFUSED_OTHERWISE, /* a virus, a fault of the sink, no reason to try again */
	REFUSED_CONTENT,   /* the way it is written: another form may be taken */
	REFUSED_SIZE,
};

/* One message on its way to one sink. The engine keeps it. */
struct delivery {
	const struct message *message;
	const char *folder; /* UTF-8, '/' between parts, or special:NAME */
	struct when date;
	bool seen, answered, flagged, draft;
	const char *uidl; /* NULL: none */
	size_t uidl_n;
	uint32_t occurrence, number;
	uint64_t listed_size;
	int64_t retrieved; /* UTC seconds */
	/* filled by the sink: */
	enum delivery_outcome outcome;
	uint64_t generation; /* IMAP: UIDVALIDITY; archive: 0 */
	uint64_t place;      /* IMAP: UID; archive: number; 0: it did not say */
	bool altered; /* it went in the wire form, which differs from the record */
	/* It is stored without what was asked for, or otherwise than it was sent. */
	bool no_date, no_flags, rewritten;
	bool unsaid; /* stored, but the server did not give the receipt it always should */
	bool absent;               /* pending, but surely not there: throttled, full */
	enum delivery_cause cause; /* of DELIVERY_REFUSED */
	struct err *
		err; /* what it said of the message: malloc'ed, the engine's; or NULL */
	/*
	 * What goes up is this form of the message (deliver.c sets it), or is there in
	 * it (find() does); wire is the digest of a form.
	 */
	enum rescue form;
	unsigned char wire[DIGEST];
};

/* Where new messages of a folder will come to stand: what find() starts from. */
struct sink_floor {
	uint64_t generation;
	uint64_t next;
	bool empty; /* nothing is in the folder now */
};

struct sink_setup {
	const struct endpoint *end;
	const struct job *job;
	const char *account; /* of the source */
	const char *password;
	struct trace *trace;
	const struct log *log;
	int stop_fd;   /* readable: stop; ends waits until the sink is open. 0: none */
	bool cautious; /* one message at a time: a batch was refused before */
	/* Kept between sessions, 0 at first: so often one of several connections was
	 * lost, and not the first. */
	unsigned *crowded;
	int deadline_ms; /* a server silent for so long is lost; 0: as usual */
	int look_ms; /* from one look for what may still come to the next; 0: as usual */
	bool reading; /* only for read() and survey(): nothing is made or changed */
	/* Bytes that are to come, for a warning when there is no room; NULL: none
	 * wanted */
	uint64_t (*expected)(void *ctx);
	int *wait_ms; /* when open() gives ST_RETRY: what the server asked for, or 0 */
	/* Is this the only message with its Message-ID that was ever sent there? */
	bool (*alone)(void *ctx, const struct facts *f);
	/* How many messages with exactly this content are stored there. */
	unsigned (*copies)(void *ctx, const struct facts *f);
	/* Is this copy, which is not exactly ours, perhaps another message's? */
	bool (*rival)(void *ctx, const struct facts *ours, const struct facts *theirs);
	void *ask_ctx;
	/* The highest place there that the journal tells of; NULL: nobody knows. */
	uint64_t (*newest)(void *ctx);
	/* Who swallows calls it before anything that was put becomes durable: what the
	 * journal tells of it must be so before. When it fails so does the call under
	 * way. */
	enum status (*before_commit)(void *ctx, struct err *err);
	/* What the run has to tell, for a sink that keeps a record of it; NULL:
	 * nothing. */
	void (*story)(void *ctx, struct run_story *out);
	void *story_ctx; /* of newest() and before_commit(), too */
};

/* What became of a message that was to be read back. */
enum sink_found {
	FOUND_WHOLE,    /* its bytes were given */
	FOUND_GONE,     /* it was there, and was taken away */
	FOUND_NEVER,    /* it never was: whoever said so lost it */
	FOUND_UNREAD,   /* its bytes cannot be had, or are damaged */
	FOUND_DISPOSED, /* it was there, and a record there says why it is no more */
};
struct sink_reading {
	void (*begin)(void *ctx);
	mail_take *take;
	void (*end)(void *ctx, size_t k, enum sink_found what);
	void *ctx;
};

/* A message in a folder, seen from outside. */
struct sink_seen {
	uint64_t generation, place;
	const struct facts *facts; /* of its header alone: ident and msgid */
};

struct sink_ops {
	const char *const *schemes;
	bool secret;    /* needs a password */
	bool record;    /* keeps every byte as it came */
	bool blind;     /* never looks at the bytes of a message */
	bool swallows;  /* put() takes the text; see before_commit() of its setup */
	bool by_folder; /* has less to do when those of a folder come together */
	/* The identity for the journal: "imap:user@host", "archive:PATH". Owned by the
	 * caller. */
	char *(*identity)(const struct endpoint *end);
	enum status (*open)(
		struct sink **out, const struct sink_setup *setup, struct err *err);
	/* Finds or makes the folder and tells the floor. */
	enum status (*floor)(struct sink *s, const char *folder, struct sink_floor *out,
		struct err *err);
	/* This place belongs to a known message of that exact digest: find() will not
	 * give it. */
	void (*claim)(struct sink *s, const char *folder, uint64_t generation,
		uint64_t place, const unsigned char exact[DIGEST]);
	/*
	 * Is this message there, at or after the floor, as it is or in a form? ST_OK:
	 * found, claimed and d's receipt filled; ST_END: it is not, seen at until_ms
	 * (clock_ms(), may be past) or later; 0: at any time. Until then a server may
	 * be busy with what an earlier connection sent; looks again. Below a floor with
	 * a generation (a put in doubt, not a first look) a copy counts too in which
	 * the server changed white space or 8-bit bytes or, of a message that is
	 * alone(), all but the main fields and a little of the size. What is not
	 * exactly the message is only taken when it cannot be a rival()'s.
	 */
	enum status (*find)(struct sink *s, struct delivery *d,
		const struct sink_floor *from, int64_t until_ms, struct err *err);
	/* Is a message of these very bytes there that no claim() has named? Claims it.
	 * ST_END: it is not. NULL: that takes more than the digest. Who has it finds
	 * over all folders, so the claims of all are told before. */
	enum status (*recall)(struct sink *s, const unsigned char sha256[DIGEST],
		uint64_t *place, struct err *err);
	enum status (*put)(struct sink *s, struct delivery *d, struct err *err);
	/* Nothing that was put is held back to go with others. Does not wait. */
	enum status (*flush)(struct sink *s, struct err *err);
	/* As commit(), for this message and those put before it. Those put after may go
	 * on, and some of them be settled too. */
	enum status (*await)(struct sink *s, const struct delivery *d, struct err *err);
	enum status (*commit)(struct sink *s, struct err *err);
	/*
	 * Reads back what is durable at these places, which ascend, of a folder's
	 * generation: end() comes once for each, in any order, and begin() before those
	 * with bytes (twice in a row: what was taken in between belongs to none).
	 * ST_SKIP: the folder is not there, or is of another generation. After ST_RETRY
	 * what end() has told holds.
	 */
	enum status (*read)(struct sink *s, const char *folder, uint64_t generation,
		const uint64_t *places, size_t n, const struct sink_reading *to,
		struct err *err);
	/* Shows every message of the folder. NULL: places are never unknown. ST_SKIP:
	 * it is not there. */
	enum status (*survey)(struct sink *s, const char *folder,
		void (*each)(void *ctx, const struct sink_seen *seen), void *ctx,
		struct err *err);
	/*
	 * Nothing more comes in this run: an archive seals what it has. It is so also
	 * when the run failed elsewhere, but not when it was stopped, or failed with
	 * EX_IOERR or EX_SOFTWARE. A server is only told of runs that ended well.
	 */
	enum status (*finish)(struct sink *s, struct err *err);
	/*
	 * These messages of this account are deleted at the source, since they are
	 * here. It need not be open. NULL: it keeps no such record.
	 */
	enum status (*removed)(const struct endpoint *end, const char *account,
		const struct story_item *v, size_t n, struct err *err);
	/* After ST_RETRY: true when the batch should come one by one. */
	bool (*overreached)(const struct sink *s);
	/* After ST_RETRY: milliseconds the server asked us to wait, or 0. After
	 * commit() the same before the next batch; -1: it wants less haste and names no
	 * time. */
	int (*wait_ms)(const struct sink *s);
	/* What an answer takes at least, in milliseconds; NULL: nothing. */
	int (*rtt_ms)(const struct sink *s);
	void (*cancel)(struct sink *s);
	void (*close)(struct sink **s);
};

struct sink {
	const struct sink_ops *ops;
};

const struct sink_ops *sink_kind(const char *scheme);

#endif
