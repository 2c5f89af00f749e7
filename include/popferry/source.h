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

#include <popferry/buf.h>
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
	bool numbered;     /* they are the message numbers: none was passed on */
	bool consumed; /* it says that what was fetched may go at the end (quirk Q43) */
	bool windowed; /* known to show only a part of what is there (quirk Q17) */
	bool steady; /* it does not change, and no session changes it: one is enough */
	bool stat;   /* it was asked (record) how much it has in all, and said: */
	uint64_t stat_count, stat_octets;
	/* What was fetched stays, and the next session may begin while this one
	 * ends. */
	bool lasting;
};

/* What was odd about a message, though it may be whole. */
enum oddity {
	ODD_NONE,
	ODD_GLUED,     /* its end stood behind the last line's text (quirk Q25) */
	ODD_UNSTUFFED, /* it may have been cut at a single dot (quirk Q28) */
	ODD_UNFILED,   /* an archive has it, and little of how it was filed there */
};

/* How a message was filed when it came to where it is read from now. */
struct origin {
	const char *folder; /* UTF-8, '/' between parts; "" is INBOX */
	bool bare;          /* nothing of what follows is known */
	const char *uidl;   /* at its first source; NULL: none */
	size_t uidl_n;
	uint32_t occurrence, number;
	uint64_t listed_size;
	int64_t retrieved;
	struct when date; /* INTERNALDATE */
	bool seen, answered, flagged, draft;
};

struct source;

struct source_setup {
	const struct endpoint *end;
	const char *password; /* may be NULL where none is needed */
	struct trace *trace;
	const struct log *log;
	int stop_fd;     /* readable: stop; ends waits until list() is done. 0: none */
	bool cautious;   /* one command at a time: asking ahead went wrong before */
	bool any_size;   /* the listing's sizes are no measure */
	bool no_capa;    /* asking what it can do ended a session before (quirk Q57) */
	int deadline_ms; /* a server silent for so long is lost; 0: as usual */
	bool record;     /* what it says is kept as evidence: ask what can be asked */
};

struct source_ops {
	const char *const *schemes; /* of URLs, NULL-terminated */
	bool secret;                /* needs a password */
	/* The identity of what is read, for the journal: "pop3:user@host". Owned by the
	 * caller. NULL: err says why it cannot be known. */
	char *(*account)(const struct endpoint *end, struct err *err);
	/*
	 * Connects and logs in; *out is NULL, or from meet(). After ST_RETRY *out may
	 * be set too, and is then good for overreached(), no_capa(), wait_ms() and
	 * close() only.
	 */
	enum status (*open)(
		struct source **out, const struct source_setup *setup, struct err *err);
	/*
	 * The first half of open(): what can be done while an earlier session stands.
	 * open() is given *out then, and goes on with it. NULL: there are no halves.
	 */
	enum status (*meet)(
		struct source **out, const struct source_setup *setup, struct err *err);
	/* Calls each() for every message, by number; *it lives for the call only. */
	enum status (*list)(struct source *s,
		void (*each)(void *ctx, const struct item *it), void *ctx,
		struct listing *out, struct err *err);
	/* What the server said in this session, a JSON object with sorted keys. After
	 * list(). NULL: it is no server. */
	void (*said)(const struct source *s, struct buf *out);
	/* Forgets what was wanted and not asked for yet. In the thread that calls
	 * next(). */
	void (*wind_down)(struct source *s);
	/* Announces what next() shall give, in this order; may be called again. */
	void (*want)(struct source *s, uint32_t number, uint64_t size);
	/*
	 * The next wanted message's bytes go to take(); *number says which it is.
	 * ST_END: nothing is wanted, or not in this session any more. On ST_SKIP and
	 * ST_RETRY what take() got is void. ST_SKIP with EX_TEMPFAIL: it may be had in
	 * another session.
	 */
	enum status (*next)(struct source *s, uint32_t *number, mail_take *take,
		void *ctx, struct err *err);
	/* What was odd about the message of the last next(). */
	enum oddity (*oddity)(const struct source *s);
	/* How that one was filed before, until the next next(). NULL: it comes from a
	 * mailbox; so do all when there is no such function. */
	const struct origin *(*origin)(const struct source *s);
	/*
	 * Notes that this message is to go when finish() is called, and not before.
	 * Nothing may be wanted any more, and the number must not be used again.
	 * ST_SKIP: refused.
	 */
	enum status (*remove)(struct source *s, uint32_t number, struct err *err);
	/* Ends in good order; the server keeps what was not removed. Anything but ST_OK
	 * leaves open whether the others are gone: only the next listing tells. */
	enum status (*finish)(struct source *s, struct err *err);
	/* After ST_RETRY: true when asking ahead is to blame (see cautious). */
	bool (*overreached)(const struct source *s);
	/* True when asking what it can do is what ends its sessions. */
	bool (*no_capa)(const struct source *s);
	/* Milliseconds it wants from one login to the next, or 0. */
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
