/*
 * source.h: where messages come from. One contract, one small file a kind.
 *
 * A source lists what it has, then delivers what is wanted, in order. How far
 * it asks ahead is its own affair. Status: ST_RETRY closes and reopens it,
 * ST_SKIP marks one message, ST_DENIED stops the job with advice.
 *
 * Threads: a source belongs to the thread that opened it or was handed it;
 * cancel() may be called from any.
 */
#ifndef POPFERRY_SOURCE_H
#define POPFERRY_SOURCE_H

#include <popferry/config.h>
#include <popferry/err.h>
#include <popferry/mail.h>
#include <popferry/net.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One message as the source lists it. */
struct item {
	uint32_t number;     /* valid until the source is closed */
	uint32_t occurrence; /* 1, 2, ... among those with the same UIDL */
	uint64_t size;       /* UINT64_MAX: unknown. A hint, never a bound */
	const char *uidl;    /* bytes; NULL: it has none */
	uint32_t uidl_n;
};

/* What a listing was like. */
struct listing {
	size_t n;          /* messages */
	size_t repeated;   /* those whose UIDL another one has too */
	size_t unreadable; /* rows that made no sense */
	bool nameless;     /* the source has no UIDLs at all */
};

struct source;

struct source_setup {
	const struct endpoint *end;
	const char *password; /* may be NULL where none is needed */
	struct trace *trace;
	const struct log *log;
	int stop_fd;     /* readable: stop; every wait ends. 0: none */
	bool cautious;   /* one command at a time: asking ahead went wrong before */
	int deadline_ms; /* a server silent for so long is lost; 0: as usual */
};

struct source_ops {
	const char *const *schemes; /* of URLs, NULL-terminated */
	bool secret;                /* needs a password */
	/* The identity of what is read, for the journal: "pop3:user@host". Owned by the
	 * caller. */
	char *(*account)(const struct endpoint *end);
	/*
	 * Connects and logs in. After ST_RETRY *out may be set too, and is then good
	 * for overreached(), wait_ms() and close() only.
	 */
	enum status (*open)(
		struct source **out, const struct source_setup *setup, struct err *err);
	/* Calls each() for every message, by number; *it lives for the call only. */
	enum status (*list)(struct source *s,
		void (*each)(void *ctx, const struct item *it), void *ctx,
		struct listing *out, struct err *err);
	/* Announces what next() shall give, in this order; may be called again. */
	void (*want)(struct source *s, uint32_t number, uint64_t size);
	/*
	 * The next wanted message's bytes go to take(); *number says which it is.
	 * ST_END: nothing is wanted. On ST_SKIP and ST_RETRY what take() got
	 * is void.
	 */
	enum status (*next)(struct source *s, uint32_t *number, mail_take *take,
		void *ctx, struct err *err);
	/* Ends in good order; the server keeps everything. */
	enum status (*finish)(struct source *s, struct err *err);
	/* After ST_RETRY: true when asking ahead is to blame (see cautious). */
	bool (*overreached)(const struct source *s);
	/* After ST_RETRY: milliseconds to wait before logging in again, or 0. */
	int (*wait_ms)(const struct source *s);
	void (*cancel)(struct source *s);
	void (*close)(struct source **s);
};

/* The first member of every implementation. */
struct source {
	const struct source_ops *ops;
};

/* The kind for a URL's scheme; NULL when there is none. */
const struct source_ops *source_kind(const char *scheme);

#endif
