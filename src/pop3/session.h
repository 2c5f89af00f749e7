/*
 * session.h: the inside of a POP3 session, for the files of this folder.
 *
 * pop3.c opens and ends sessions; talk.c sends commands and reads replies;
 * login.c proves who we are; list.c asks for the listing, rows.c reads and
 * joins its rows, repeat.c counts equal UIDLs; retr.c fetches, bare.c where line
 * ends are bare; quit.c deletes and leaves.
 */
#ifndef POP3_SESSION_H
#define POP3_SESSION_H

#include <popferry/pop3.h>

struct mailpop3;

/* Announced by pop3_want(): head..sent are on the wire, sent..n are not yet. */
struct want {
	uint32_t number;
	uint64_t size;   /* as listed */
	uint64_t expect; /* bytes of it still to come, as far as one can tell */
};

struct wants {
	struct want *p;
	size_t n, cap, head, sent;
	uint64_t expect; /* the sum over those on the wire */
	uint64_t window; /* and as much as it may be now; 0: not measured yet */
	uint64_t came;   /* bytes since clock_ms() was since_ms */
	int64_t since_ms;
};

struct pop3 {
	struct conn *c;
	struct mailpop3 *etpan; /* greeting and STLS */
	char *where;            /* "pop.example.org:995" */

	struct pop3_config cfg; /* without its texts */
	char *user, *password;  /* the password only until the login */

	struct pop3_server server;
	char *greeting;
	char **capa;
	char *stamp; /* for APOP; NULL: none */
	char stat[256];

	bool ahead; /* commands may be sent before replies have come */
	bool ahead_failed;
	bool capa_failed;
	bool dovecot;      /* says the greeting */
	bool retrieved;    /* a message was fetched in this session */
	bool marked;       /* something is to be deleted at QUIT */
	bool listing;      /* LIST and UIDL are on the wire */
	bool skipped_capa; /* so far: the login shall ask for it */
	bool last_said;    /* LAST was answered at login, with -ERR: */
	bool no_last;
	bool exact;    /* messages have come in the size that was listed */
	bool measured; /* one has come whose size was listed */
	enum pop3_oddity oddity;
	struct wants wants;

	struct pop3_item *items; /* of the last listing */
	char *uidls;
};

/* ---- talk.c ---- */

enum reply_kind { REPLY_OK, REPLY_ERR, REPLY_MORE, REPLY_ODD };

struct reply {
	enum reply_kind kind;
	const char *words; /* after the status; until the next call on the connection */
	size_t n;
	bool bare; /* its line ended in LF alone */
};

struct reply pop3_reply_parse(const char *line, size_t n);

/* Ends the session: "WHERE text", ST_RETRY and EX_PROTOCOL. */
enum status talk_broken(struct pop3 *p, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same for a reply that is not what the command allows. */
enum status talk_odd(
	struct pop3 *p, const struct reply *r, const char *command, struct err *err);

/* "text (server said: words)", and the words alone as the reply. */
enum status talk_said(const struct reply *r, struct err *err, enum status st, int ex,
	const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Nothing is due, so nothing may have come (quirks Q26, Q74). */
enum status talk_unasked(struct pop3 *p, struct err *err);
/* The same after a look at the wire; also fails when that is gone. */
enum status talk_settled(struct pop3 *p, struct err *err);

/* The next reply; its first byte may take patience ms. For a lost connection
 * the text names the command. */
enum status talk_reply(struct pop3 *p, struct reply *r, const char *command,
	int patience, struct err *err);

/* One command, nothing else being due, and its reply. */
enum status talk(struct pop3 *p, struct reply *r, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* ---- pop3.c ---- */

enum status session_capa(struct pop3 *p, struct err *err);
/* Reads the answer to a CAPA that was sent. */
enum status session_hear_capa(struct pop3 *p, int patience, struct err *err);

/* Messages are announced that were not read yet. */
bool session_wanting(const struct pop3 *p);

/* ---- list.c ---- */

/* What asks for the listing, all at once. */
const char *list_commands(const struct pop3 *p);

/* ---- quit.c ---- */

/* Is LAST to be asked, to see whether RSET does good? */
bool quit_asks_last(const struct pop3 *p);

/* ---- login.c ---- */

/* Is it a server, by its greeting, that may be sent all at once? */
bool login_goes_ahead(const struct pop3 *p);

/* "-ERR" where the greeting should be (quirk Q58). */
enum status refused_greeting(struct pop3 *p, const struct reply *r, struct err *err);

/* ---- bare.c ---- */

/* As struct dot, for a message whose lines end in LF alone so far (quirk Q26). */
struct bare {
	int state; /* 0 at the start */
	bool begun, strict;
	struct dot dot; /* for what follows the first CRLF */
};
size_t bare_feed(struct bare *b, const char *in, size_t n, bool *done, mail_take *take,
	void *ctx);

/* ---- rows.c ---- */

/* A row of UIDL: n bytes, from there on. */
struct row {
	uint32_t number, n, at;
};

/*
 * LIST's rows are items at once. UIDL's go to them as long as they come in the same
 * order, as nearly all do; the others are kept apart to the end. So a large listing is
 * in memory once.
 */
struct rows {
	struct pop3_item *items;
	size_t n, cap;
	struct row *apart;
	size_t n_apart, cap_apart;
	size_t next; /* the item of the next row of UIDL, most likely */
	size_t unreadable;
	bool mixed; /* the items are not in ascending order */
};

struct buf;

/* uidls: where UIDLs are kept; NULL: it is a row of LIST. */
void rows_take(struct rows *rows, struct buf *uidls, const char *line, size_t n);
/* There are no more of LIST. */
void rows_listed(struct rows *rows);
/* All there are: the items are the caller's now. Fills all but what concerns
 * repetition. */
struct pop3_item *rows_join(struct rows *rows, struct pop3_listing *out);
void rows_free(struct rows *rows);

/* ---- repeat.c ---- */

/* Numbers the items with equal UIDLs; how many have a UIDL another one has too. */
size_t repeat_count(struct pop3_item *items, size_t n, const char *uidls);

#endif
