/*
 * imap.h: an IMAP session that stores messages (RFC 3501, 7888, 3502, 4315).
 *
 * Message text must never be read as commands (quirk Q75). So: the first
 * APPEND to a mailbox in a session, and the first with a new set of flags, is
 * sent with a synchronising literal; only when that form was accepted do later
 * ones go ahead of their replies (LITERAL+, MULTIAPPEND; LITERAL- up to 4096 bytes);
 * flags and dates come from one formatter each; mail whose text holds commands always
 * waits; and a refused non-synchronising APPEND closes the connection at once. Dovecot,
 * where its greeting and its ID after the login say so, is known to take what we send,
 * and a literal that it refuses it reads to its end: there the first goes ahead, too.
 *
 * What such a refusal leaves pending is for the caller to look up and to put
 * again in a session with `cautious` (see imap_refused()): there every APPEND
 * is synchronous and single, so the one bad message is singled out and the
 * others get through.
 *
 * Errors: ST_RETRY (connection lost, BYE, throttled: EX_TEMPFAIL; out of step:
 * EX_PROTOCOL), ST_DENIED (login: EX_NOPERM; quota: EX_CANTCREAT; no
 * STARTTLS: EX_UNAVAILABLE; no such mailbox and none can be made: EX_CANTCREAT),
 * ST_SKIP (from imap_fetch(): this message is gone; also the status in the err of a
 * refused message). After ST_RETRY and ST_DENIED the session can only be closed.
 *
 * Threads: a session belongs to one thread; imap_cancel() may be called from any.
 */
#ifndef POPFERRY_IMAP_H
#define POPFERRY_IMAP_H

#include <popferry/err.h>
#include <popferry/mail.h>
#include <popferry/net.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum imap_auth { IMAP_AUTH_AUTO, IMAP_AUTH_LOGIN, IMAP_AUTH_PLAIN };
enum imap_literal {
	IMAP_LITERAL_AUTO, /* the best the server offers */
	IMAP_LITERAL_SYNC, /* never ahead of a reply */
};

enum imap_compress {
	IMAP_COMPRESS_AUTO, /* when the line proves slow */
	IMAP_COMPRESS_YES,  /* wherever it is offered */
	IMAP_COMPRESS_NO,
};

enum {
	IMAP_LINE_MAX = 64 * 1024, /* a response line outside literals */
	IMAP_NAME_MAX = 1024,      /* a mailbox name on the wire */
};

struct imap_config {
	struct net_config net;
	const char *user;
	const char *password;
	enum imap_auth auth;
	enum imap_literal literal;
	bool multiappend;      /* false: never, even when offered */
	unsigned batch_count;  /* messages in one MULTIAPPEND; 0: 200 */
	uint64_t batch_bytes;  /* 0: 4 MiB */
	uint64_t window_bytes; /* unanswered bytes; 0: 20 MiB */
	uint64_t append_max; /* larger messages are refused; 0: what APPENDLIMIT says */
	enum imap_compress compress;
	bool cautious; /* every APPEND synchronous and single, each reply awaited */
	bool by_turns; /* one of several sessions that store in turn: imap_append() */
	int greeting_ms, reply_ms; /* 0: 60 000, 300 000 */
	bool inbox;     /* INBOX is what is filled: it may be selected with the login */
	bool look_only; /* imap_folder() makes nothing: ST_SKIP when it is not there */
};

struct imap;

struct imap_server {
	const char *greeting;
	const char *const *capability; /* n_capability words of the last CAPABILITY */
	size_t n_capability;
	bool starttls, logindisabled, sasl_plain, sasl_ir, literal_plus, literal_minus,
		multiappend, uidplus, namespace, special_use, id;
	uint64_t append_limit; /* 0: none said */
	const char *prefix;    /* of the personal namespace, as on the wire */
	char delimiter;        /* 0: flat */
	const struct tls_info *tls;
	const char *peer;
};

/* Dials, greets, STARTTLS when asked for, CAPABILITY. Does not log in. A
 * greeting "+OK" is a POP3 server: the error says so. PREAUTH before a required
 * STARTTLS is refused. imap_over() takes the connection over, also when it fails.
 * The texts of cfg must outlive the session. */
enum status imap_connect(
	struct imap **out, const struct imap_config *cfg, struct err *err);
enum status imap_over(struct imap **out, struct conn *c, const struct imap_config *cfg,
	struct err *err);

/* AUTHENTICATE PLAIN (with SASL-IR when offered) or LOGIN; then CAPABILITY,
 * ID when offered, NAMESPACE or LIST "" "" for prefix and delimiter. */
enum status imap_login(struct imap *i, struct err *err);

const struct imap_server *imap_server(const struct imap *i);

/* ---- mailboxes ---- */

struct imap_mailbox {
	char *wire; /* the name as the server lists it (modified UTF-7, its delimiter)
		     */
	uint32_t uidvalidity, uidnext, exists; /* when it was selected */
	bool selected;                         /* it was, in this session */
	bool created;                          /* by this call of imap_folder() */
	bool keywords;                         /* PERMANENTFLAGS has \* */
};

/*
 * Finds or makes the mailbox for a folder name (UTF-8, '/' between parts;
 * "" and "INBOX" are INBOX; "special:Sent" is the mailbox with that
 * special-use attribute, RFC 6154, or else a folder of that name).
 * Parts are made fit (name_clean), the personal namespace's
 * prefix put before unless it is there, the name created and subscribed when
 * missing, and the spelling of the server's own LIST used from then on.
 * The result is kept by the session: asking again costs nothing.
 */
enum status imap_folder(struct imap *i, const char *folder,
	const struct imap_mailbox **out, struct err *err);

/* SELECTs it (unless it is selected) and brings the numbers up to date. */
enum status imap_select(struct imap *i, const struct imap_mailbox *mb, struct err *err);

/* Selects it anew even if selected: what other sessions did becomes visible. */
enum status imap_reselect(
	struct imap *i, const struct imap_mailbox *mb, struct err *err);

/* ---- storing ---- */

enum imap_outcome {
	IMAP_PENDING, /* no reply yet; after a lost connection: in doubt */
	IMAP_STORED,
	IMAP_REFUSED, /* proof that it is not stored; err says why */
};

/* For what a message was refused. */
enum imap_cause {
	IMAP_FOR_CONTENT, /* the way it is written, or it was not said */
	IMAP_FOR_SIZE,
	IMAP_FOR_POLICY, /* what it brings: a virus, spam */
};

/* One message to store; the caller keeps it until it is no longer pending, or
 * the session has failed. */
struct imap_append {
	const struct message *message;
	const struct imap_mailbox *mailbox;
	struct when date; /* INTERNALDATE; known == false: none is sent */
	bool seen, answered, flagged, draft; /* system flags to set */
	enum imap_outcome outcome;
	uint32_t uidvalidity, uid; /* of APPENDUID; 0 when the server told none */
	/* The server would not take it with its date, or its flags (quirks Q77,
	 * Q104). */
	bool no_date, no_flags;
	bool absent; /* IMAP_PENDING, but proof that it is not stored: throttled, full */
	enum imap_cause cause; /* of IMAP_REFUSED */
	struct err *err; /* what was said of it: malloc'ed, the caller's; or NULL */
};

/*
 * Sends it, or gathers it for the next MULTIAPPEND; may return with the
 * outcome still IMAP_PENDING. Messages to the same mailbox stay in order. The
 * mailbox is selected first and stays so. A message over append_max, or over what
 * the server says of that mailbox, gets IMAP_REFUSED at once and nothing is sent;
 * a limit below 1 MiB is only believed once the server has refused for size (Q84).
 *
 * With by_turns it may return as soon as the message is announced, when its text has
 * to wait for the server's "+". The text is sent by the next call of this,
 * imap_flush(), imap_await() or imap_finish(); no other command may come before that.
 * And flags and date are as imap_takes() said in another session: when they are refused
 * now, so is the message.
 */
enum status imap_append(struct imap *i, struct imap_append *a, struct err *err);

/* This server takes a message of that size only after it has said "+". */
bool imap_has_to_wait(const struct imap *i, const struct message *m);
/* It is seen, or known, to store one with such flags and a date in that mailbox, which
 * is selected. */
bool imap_takes(const struct imap *i, const struct imap_append *a);

/* The shortest time a SELECT took in this session, in milliseconds; 0: none was
 * seen. */
int imap_rtt_ms(const struct imap *i);

/* Sends what is gathered or announced. Does not wait for replies but "+". */
enum status imap_flush(struct imap *i, struct err *err);

/* Waits until this message is not pending, as imap_finish() for all. */
enum status imap_await(struct imap *i, const struct imap_append *a, struct err *err);

/*
 * Sends what is gathered and waits until no message is pending. On ST_RETRY
 * and ST_DENIED those still pending are in doubt, unless they are absent.
 */
enum status imap_finish(struct imap *i, struct err *err);

/*
 * True when the session ended because something sent ahead of its reply was
 * refused and it is not known which message is to blame (a MULTIAPPEND is
 * stored as a whole or not at all): put what it left in a session with
 * `cautious`.
 */
bool imap_refused(const struct imap *i);

/*
 * Milliseconds the server asked us to stay away (at most 30 minutes); 0: it
 * named none. Told with ST_RETRY. Without: it took messages since this was
 * last asked, but wants less haste; -1: for a time that it did not name.
 */
int imap_wait_ms(struct imap *i);

/* ---- looking ---- */

/* One message of the selected mailbox, from a header FETCH. */
struct imap_seen {
	uint32_t uid;
	uint64_t size;      /* RFC822.SIZE; 0 when it was no number */
	const char *header; /* raw header fields Message-ID, From, Date, Subject, To,
			       Cc, List-Id */
	size_t header_n;
};

/*
 * Calls each() for every message of the selected mailbox, as it was when
 * selected, with UID >= first; by UID FETCH in windows, never by SEARCH
 * (quirks Q90, Q118, Q119). The scanner is our own and bounded.
 */
enum status imap_scan(struct imap *i, uint32_t first,
	void (*each)(void *ctx, const struct imap_seen *m), void *ctx, struct err *err);

/* UID FETCH BODY.PEEK[]: the bytes go to take(). ST_SKIP when it is gone. */
enum status imap_fetch(
	struct imap *i, uint32_t uid, mail_take *take, void *ctx, struct err *err);

/* What became of one of many messages that were asked for. */
enum imap_fetched {
	IMAP_FETCHED, /* its bytes were given */
	IMAP_GONE,    /* it was there, and was deleted */
	IMAP_NEVER,   /* the mailbox has not given that UID to any message yet */
	IMAP_UNREAD,  /* it is there, or may be, but its bytes cannot be had */
};
struct imap_reading {
	void (*begin)(void *ctx); /* of any of them */
	mail_take *take;
	void (*end)(void *ctx, size_t k, enum imap_fetched what); /* of uids[k] */
	void *ctx;
};
/*
 * The bytes of many messages of the selected mailbox, in any order; end() comes once
 * for each of these UIDs, which ascend, and begin() before those with bytes. begin()
 * may come twice in a row: what was taken then belongs to none of them.
 */
enum status imap_fetch_many(struct imap *i, const uint32_t *uids, size_t n,
	const struct imap_reading *to, struct err *err);

/* Bytes the quotas of this mailbox leave (RFC 9208); UINT64_MAX: none known. */
enum status imap_room(struct imap *i, const struct imap_mailbox *mb, uint64_t *bytes,
	struct err *err);

/* The net_config's stop_fd no longer ends waits: what was sent may settle. */
void imap_ignore_stop(struct imap *i);
void imap_cancel(struct imap *i);
struct conn_counts imap_counts(const struct imap *i);

/* LOGOUT, then close. NULL is fine. */
void imap_close(struct imap **i);

#endif
