/*
 * sink.h: where messages go. One contract, one small file a kind.
 *
 * put() may return with a message still on its way; commit() returns only
 * when every message put so far is durable or refused, with its receipt. The
 * journal says "stored" only after that. find() answers after a crash whether
 * a put got through, and before the first upload whether an earlier migration
 * left the message there.
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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sink;

enum delivery_outcome {
	DELIVERY_PENDING, /* not known (yet) */
	DELIVERY_STORED,  /* durable; the receipt is filled */
	DELIVERY_REFUSED, /* proof that it is not there; err says why */
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
	bool altered;   /* it went in the wire form, which differs from the record */
	struct err err; /* for DELIVERY_REFUSED */
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
	int deadline_ms; /* a server silent for so long is lost; 0: as usual */
};

struct sink_ops {
	const char *const *schemes;
	bool secret; /* needs a password */
	/* The identity for the journal: "imap:user@host", "archive:PATH". Owned by the
	 * caller. */
	char *(*identity)(const struct endpoint *end);
	enum status (*open)(
		struct sink **out, const struct sink_setup *setup, struct err *err);
	/* Finds or makes the folder and tells the floor. */
	enum status (*floor)(struct sink *s, const char *folder, struct sink_floor *out,
		struct err *err);
	/* This place belongs to a known message: find() will not give it. */
	void (*claim)(struct sink *s, const char *folder, uint64_t generation,
		uint64_t place);
	/*
	 * Is this message there, at or after the floor? ST_OK: found, claimed and
	 * d's receipt filled; ST_END: it is not. patience_ms: how long a server may
	 * still be busy with what an earlier connection sent; looks again until then.
	 */
	enum status (*find)(struct sink *s, struct delivery *d,
		const struct sink_floor *from, int64_t patience_ms, struct err *err);
	enum status (*put)(struct sink *s, struct delivery *d, struct err *err);
	enum status (*commit)(struct sink *s, struct err *err);
	/* The job has ended well: seal, log out. */
	enum status (*finish)(struct sink *s, struct err *err);
	/* After ST_RETRY: true when the batch should come one by one. */
	bool (*overreached)(const struct sink *s);
	/* After ST_RETRY: milliseconds the server asked us to wait, or 0. */
	int (*wait_ms)(const struct sink *s);
	void (*cancel)(struct sink *s);
	void (*close)(struct sink **s);
};

struct sink {
	const struct sink_ops *ops;
};

const struct sink_ops *sink_kind(const char *scheme);

#endif
