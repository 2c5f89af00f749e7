/*
 * session.h: the inside of an IMAP session, for the files of this folder.
 *
 * session.c begins and ends it; etpan.c lends the connection to libetpan and
 * judges how that went; reply.c reads and judges replies ourselves; login.c,
 * folder.c, append.c, scan.c and fetch.c are the commands.
 */
#ifndef IMAP_SESSION_H
#define IMAP_SESSION_H

#include <popferry/imap.h>
#include <popferry/mem.h>

#include <libetpan/libetpan.h>

enum {
	COMMANDS_MAX = 1000, /* unanswered at any time */
	MULTI_MAX = 16,      /* of them those with many messages */
	PIECE = 64 * 1024,   /* of a body, read and sent at once */
};

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)

/* ---- replies (reply.c) ---- */

enum reply_kind {
	REPLY_JUNK, /* not IMAP */
	REPLY_DATA, /* untagged, not a condition */
	REPLY_GO,   /* "+" */
	REPLY_OK,
	REPLY_NO,
	REPLY_BAD,
	REPLY_PREAUTH,
	REPLY_BYE,
};

struct reply {
	enum reply_kind kind;
	int tag;          /* 0: untagged */
	const char *text; /* after the kind; valid until the next line is read */
	size_t n;
};

/* What a NO or BAD means for us. */
enum verdict {
	NO_THIS,    /* the thing asked for is refused, it is not clear why */
	NO_CONTENT, /* the way the message is written */
	NO_SIZE,    /* of the message */
	NO_POLICY,  /* a virus, spam */
	NO_QUOTA,   /* no more room in this account */
	NO_RIGHT,   /* no right to do it */
	NO_WAIT,    /* throttled: not done, later perhaps */
	NO_DOUBT,   /* the server failed: done or not */
	NO_BOX,     /* the mailbox is not there */
};

/* It is about what was asked for, and says nothing of the next. */
static inline bool verdict_of_one(enum verdict v)
{
	return v <= NO_POLICY;
}

void reply_parse(struct reply *r, const char *line, size_t n);

/* The arguments of response code [CODE ...], wherever in the text it stands. */
bool reply_code(const struct reply *r, const char *code, const char **args, size_t *n);
bool reply_says(const struct reply *r, const char *pattern);
enum verdict reply_verdict(const struct reply *r);
/* "Suggested Backoff Time: 299961 milliseconds" (quirk Q87); 0: no such words. */
int reply_backoff_ms(const struct reply *r);

/* A line outside literals. */
enum status reply_line(struct imap *i, const char **line, size_t *n, struct err *err);
/* Whether the line goes on with a literal, and of what size. */
bool reply_literal(const char *line, size_t n, uint64_t *size);
/* Passes the size bytes of a literal on; take may be NULL. */
enum status reply_take(
	struct imap *i, uint64_t size, mail_take *take, void *ctx, struct err *err);
/* Skips what follows the line when it has literals; each() sees each further piece
 * of text. */
typedef void reply_each(void *ctx, const char *line, size_t n);
enum status reply_rest(struct imap *i, const char *line, size_t n, reply_each *each,
	void *ctx, struct err *err);
/* The next response, whole. Untagged data is shown to each() (may be NULL). */
enum status reply_read(
	struct imap *i, struct reply *r, reply_each *each, void *ctx, struct err *err);
/* Reads until the tagged reply to this command. BYE and a strange tag are errors. */
enum status reply_wait(struct imap *i, int tag, struct reply *r, reply_each *each,
	void *ctx, struct err *err);
/* The same, but "+" is an answer too. */
enum status reply_wait_go(struct imap *i, int tag, struct reply *r, reply_each *each,
	void *ctx, struct err *err);

/* ---- ends (reply.c): each kills the connection unless said otherwise ---- */

/* "WHERE does not keep to the protocol". */
enum status imap_junk(struct imap *i, const struct reply *r, struct err *err);
enum status imap_bye(struct imap *i, const struct reply *r, struct err *err);
/*
 * Turns a refusal into a status: throttled and failing servers are ST_RETRY,
 * a full account ST_DENIED and EX_CANTCREAT, and all else ST_DENIED and ex. The text
 * is "WHAT (server said: ...)". The connection stays as it is.
 */
enum status imap_no(struct imap *i, const struct reply *r, int ex, struct err *err,
	const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* ---- mailboxes (folder.c) ---- */

struct mailbox {
	struct imap_mailbox pub;
	bool readonly;
	uint32_t proven;     /* forms of APPEND accepted in this session, a bit each */
	uint32_t bare;       /* sets of flags that were refused: sent without */
	bool asked;          /* for its APPENDLIMIT, and our rights */
	bool no_insert;      /* we have not the right to put anything there */
	uint64_t append_max; /* its own; 0: none */
	struct mailbox *next;
};

struct folder { /* what was asked for, and what it turned out to be */
	char *name;
	struct mailbox *mailbox;
	struct folder *next;
};

/* NULL is fine. */
void folders_free(struct imap *i);
/* SELECT, and its answer; began: clock_ms() when it was sent. */
enum status select_say(struct imap *i, const char *wire, int *tag, struct err *err);
/* That of an INBOX that was selected with the login; refused: it is not selected. */
enum status select_hear_inbox(struct imap *i, int tag, int64_t began, struct err *err);
/* What is still to be asked about it. */
enum status select_limits(struct imap *i, struct err *err);
/* A quoted string; false when s cannot be one. */
bool imap_quote(struct buf *b, const char *s);
/* The same, without the quotes where there need not be any. */
bool imap_astring(struct buf *b, const char *s);
/* Fit to stand in a command: nothing a quoted string cannot hold. */
bool imap_is_safe(const char *s);
enum status scan_uidnext(struct imap *i, uint32_t *uidnext, struct err *err);

/* ---- what LIST says (folder.c, special.c) ---- */

bool list_can_select(const struct mailimap_mailbox_list *e);
/* The mailbox for this special use (no backslash): by its attribute, or by a name
 * that programs give it. *found is the caller's; NULL: there is none. */
enum status list_special(
	struct imap *i, const char *use, char **found, struct err *err);

/* ---- limits (ask.c) ---- */

/* The APPENDLIMIT of a mailbox (RFC 7889) and our rights (RFC 4314), once, where the
 * server has them: asked for, and the answers. */
struct limits_asked {
	int rights, size; /* tags; 0: not asked */
};
enum status limits_ask(
	struct imap *i, struct mailbox *m, struct limits_asked *asked, struct err *err);
enum status limits_hear(struct imap *i, struct mailbox *m,
	const struct limits_asked *asked, struct err *err);

/* ---- compression (compress.c) ---- */

/*
 * Compresses from here on, where that is offered; with nothing under way. A refusal is
 * none of the caller's business.
 */
enum status imap_compress(struct imap *i, struct err *err);
/*
 * The same when it is wished for where it pays, and what was sent has shown the line to
 * be slow: to be called between commands. May wait for what is under way.
 */
enum status imap_compress_if_slow(struct imap *i, struct err *err);

/* ---- the session ---- */

/* A command sent, or being sent, and not answered. */
struct flight {
	int tag;
	size_t n; /* messages; the oldest in the ring */
	uint64_t bytes;
	bool sync;    /* synchronising literal */
	bool waiting; /* for "+" */
	bool sent;    /* to its last byte */
	bool canary;  /* others in its form went ahead of its answer */
};

/* Arguments of an APPEND as bits: flags in the order of flag_names, and a date. */
enum {
	FORM_FLAGS = 0xf,
	FORM_DATE = 0x10,
};

struct imap {
	struct conn *conn;
	mailimap *etpan;
	struct imap_config cfg;
	char *where; /* "host:port" */

	char *greeting;
	bool preauth, authenticated;
	bool dovecot; /* by ID, after the login: what answers is not something before it */
	bool told;    /* its capabilities, unasked, since the last change of state */
	struct imap_server server;
	char **words; /* of CAPABILITY */
	char *prefix;
	uint64_t message_limit; /* RFC 9738; 0: none */
	bool cuts_short;        /* was seen to give less than was asked for */

	bool compressed, compress_tried;
	struct conn_line line; /* when it was looked at last */
	unsigned slow_spans;   /* looks in a row that found it slow */

	struct mailbox *selected, *mailboxes;
	struct folder *folders;
	bool flatten; /* the last CREATE was refused for the name it had */

	int wait_ms, ease_ms;
	bool refused;
	bool slow;       /* throttled: one at a time from now on */
	bool unsure;     /* refused: ask whether we are in step before anything else */
	unsigned blamed; /* forms a refusal may be about */
	unsigned bare_tries, dateless_tries; /* messages offered again without */
	unsigned dateless;                   /* taken so in a row */
	uint64_t largest;                    /* message it has stored in this session */
	uint64_t limit_low; /* an APPENDLIMIT too small to be believed yet; 0: none */

	int rtt_ms;                /* see imap_rtt_ms() */
	struct imap_append **ring; /* sent and pending, oldest at ring_at */
	size_t ring_cap, ring_at, ring_n;
	struct flight flights[COMMANDS_MAX];
	size_t flights_at, flights_n;
	uint64_t unanswered;           /* bytes */
	uint64_t unpolled;             /* bytes sent since we last looked for replies */
	struct imap_append *announced; /* its text is not sent; NULL: none is so */
	struct flight *announced_by;
	struct imap_append **batch;
	size_t batch_n;
	uint64_t batch_bytes;
	char *piece;
};

/*
 * Does its text hold a line that a server could carry out (quirk Q75)? Uses piece.
 * True, too, when it cannot be read. (commands.c)
 */
bool imap_commands_in(struct imap *i, const struct message *m);

/* ---- commands under way (flight.c) ---- */

/* Enters a command for n messages; its tag is in the result. */
struct flight *flight_begin(
	struct imap *i, struct imap_append **a, size_t n, bool sync);
/* Others in the form of the newest go ahead of its answer. */
void flight_canary(struct imap *i);
/* Takes one response while commands are unanswered. err is never NULL here. */
enum status flight_reply(struct imap *i, struct err *err);
/* What has come in already, without waiting. */
enum status flight_ready(struct imap *i, struct err *err);
/* Where to say why it is refused. */
struct err *flight_err(struct imap_append *a);
/* Until no more than so many commands are unanswered. */
enum status flight_until(struct imap *i, size_t flights, struct err *err);
/* After a refusal: does the server understand us still (quirk Q76)? */
enum status flight_in_step(struct imap *i, struct err *err);

/* The tag for a command of our own; libetpan counts on. */
int imap_tag(struct imap *i);
bool imap_has(const struct imap *i, const char *capability);
/* Asks for CAPABILITY, unless it was told already, and keeps the answer. */
enum status imap_capability(struct imap *i, struct err *err);
/* What counts no more: before login, or STARTTLS. */
void capability_forget(struct imap *i);
/* Where a server tells them unasked: a response code, an untagged line, libetpan. */
void capability_coded(struct imap *i, const struct reply *r);
void capability_line(void *imap, const char *line, size_t n);
void capability_heard(struct imap *i);
/* May commands that do not depend on each other go out together? */
bool imap_together(const struct imap *i);

/* ---- libetpan (etpan.c) ---- */

void etpan_open(struct imap *i);
/* Lends libetpan the connection for one command with an answer of so many bytes. */
void etpan_begin(struct imap *i, uint64_t budget);
/*
 * A command libetpan has no good function for, answered in the terms it knows.
 * (mailimap_custom_command() ends in a blank that strict servers refuse, and
 * mailimap_namespace() loses memory.)
 */
int etpan_command(struct imap *i, const char *command);
/* The answer alone, to the last command sent. */
int etpan_hear(struct imap *i);
/*
 * Takes it back. rc is what libetpan returned. ST_OK; ST_SKIP when the server refused,
 * and only then is *err not set; *r is the last line either way.
 */
enum status etpan_end(struct imap *i, int rc, struct reply *r, struct err *err);
/* Both, for the answer to the command of that tag, behind which others may be sent. */
enum status etpan_answer(struct imap *i, int tag, struct reply *r, struct err *err);

#endif
