/*
 * pop3.h: a POP3 session (RFC 1939, 2449, 2595, 5034).
 *
 * Reads and, only when told to, marks for deletion; leaves everything else on
 * the server as it is. UIDL is a hint (quirks Q1-Q22): the listing says what
 * the server said, and judging it is the engine's business.
 *
 * Errors: ST_RETRY when the connection is lost, the server desynchronised
 * (EX_PROTOCOL), or the maildrop is busy or unwell for now (EX_TEMPFAIL);
 * ST_DENIED when logging in is refused (EX_NOPERM) or STLS is not offered
 * (EX_UNAVAILABLE), or more is listed than POP3_LIST_MAX (EX_PROTOCOL); ST_SKIP when
 * one message cannot be had. After ST_RETRY and ST_DENIED the session can only be
 * closed.
 *
 * Threads: a session belongs to one thread; pop3_cancel() may be called from any.
 */
#ifndef POPFERRY_POP3_H
#define POPFERRY_POP3_H

#include <popferry/err.h>
#include <popferry/mail.h>
#include <popferry/net.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pop3_auth { POP3_AUTH_AUTO, POP3_AUTH_USER, POP3_AUTH_PLAIN, POP3_AUTH_APOP };
/* RSET before QUIT, so that what was fetched is left as it was (quirks Q42, Q43). */
enum pop3_rset {
	POP3_RSET_AUTO, /* where it is known to help and to be safe */
	POP3_RSET_YES,
	POP3_RSET_NO,
};
enum pop3_pipelining {
	POP3_PIPELINE_AUTO, /* when CAPA says PIPELINING and a canary proves it */
	POP3_PIPELINE_NO,
};

/* Ceilings for what a server may send (research: security list 5.6). */
enum {
	POP3_STATUS_MAX = 8 * 1024, /* a status line */
	POP3_ROW_MAX = 128 * 1024,  /* a line of UIDL or LIST */
	POP3_UIDL_MAX = 1000,       /* a longer UIDL counts as none */
	POP3_CAPA_MAX = 200,        /* lines */
	POP3_LIST_MAX = 5000000,    /* messages */
};

struct pop3_config {
	struct net_config net;
	const char *user;
	const char *password; /* copied; the copy is wiped by pop3_login() */
	enum pop3_auth auth;
	enum pop3_pipelining pipelining;
	/* Expected bytes asked for ahead: what comes in a second, and at most this. 0:
	 * 32 MiB */
	uint64_t window_bytes;
	unsigned window_count;              /* RETRs asked for ahead; 0: 10000 */
	uint64_t message_max;               /* a longer message is ST_SKIP; 0: 2 GiB */
	int greeting_ms, reply_ms, idle_ms; /* 0: 60 000, 600 000, 120 000 */
	enum pop3_rset rset;
	/* A message that ends in silence behind a dot at the end of a line is complete
	 * but for that dot (quirk Q25). One command at a time then. */
	bool glued_dot;
	/* Sizes of LIST are no measure: a message smaller than that is none that was
	 * cut. */
	bool any_size;
	bool no_capa; /* CAPA ends its sessions: quirk Q57 */
	/* pop3_list() comes right after the login: LIST and UIDL may go out with its
	 * end. */
	bool lists;
	bool stat; /* STAT is asked before each listing */
};

struct pop3;

/* What the server said of itself; lives as long as the session. */
struct pop3_server {
	const char *greeting;    /* cleaned */
	const char *const *capa; /* n_capa lines of the last CAPA, cleaned */
	size_t n_capa;
	bool has_capa, stls, pipelining, uidl, user, sasl_plain, apop;
	bool keeps; /* it is of a kind that hides or deletes nothing for having been fetched */
	unsigned login_delay; /* seconds it wants between logins; 0: it does not say */
	const char *expire;   /* of CAPA: "0", "30", "NEVER"; NULL: it does not say */
	const struct tls_info *tls; /* NULL: none */
	const char *peer;
	const char *
		stat; /* the words of its last answer, cleaned; NULL: not asked, or refused */
};

/*
 * Dials, greets, CAPA, STLS when asked for (then forgets what was said before it), CAPA
 * again. Does not log in. A greeting "* OK" is an IMAP server: the error says so
 * (ST_DENIED, EX_PROTOCOL); "-ERR" is busy; silence while talking plain hints at a TLS
 * port. A server that hangs up on CAPA, or is silent, is dialled once more without it
 * (quirk Q57).
 */
enum status pop3_connect(
	struct pop3 **out, const struct pop3_config *cfg, struct err *err);

/* The same over a connection made by the caller, which it takes over. For tests. */
enum status pop3_over(struct pop3 **out, struct conn *c, const struct pop3_config *cfg,
	struct err *err);

/*
 * Logs in, once. AUTO: without TLS APOP when the greeting allows it, else SASL PLAIN
 * when offered, else USER and PASS; a refusal of credentials is never followed
 * by another try. Credentials with CR, LF or NUL, or too long for the
 * protocol, are refused before anything is sent (EX_USAGE). [IN-USE],
 * [LOGIN-DELAY], [SYS/TEMP] and texts about locks are ST_RETRY with EX_TEMPFAIL,
 * [SYS/PERM] is ST_DENIED with EX_UNAVAILABLE. CAPA is asked again afterwards, and
 * pipelining decided.
 */
enum status pop3_login(struct pop3 *p, struct err *err);

const struct pop3_server *pop3_server(const struct pop3 *p);

/*
 * After ST_RETRY: the server lost its way while commands were sent ahead, so
 * the next session should be opened with POP3_PIPELINE_NO (quirk Q60).
 */
bool pop3_pipelining_failed(const struct pop3 *p);

/* CAPA ended this session, or the one before it that pop3_connect() gave up: the next
 * ones should be opened with no_capa. */
bool pop3_capa_failed(const struct pop3 *p);

/* One message the server lists. Small, because there may be a million of them. */
struct pop3_item {
	uint64_t size;       /* of LIST; UINT64_MAX when unknown. A hint */
	uint32_t number;     /* valid in this session only */
	uint32_t occurrence; /* 1 for the first message with this UIDL, 2, ... */
	uint32_t uidl;       /* see pop3_uidl() */
	uint32_t uidl_n;
};

/*
 * LIST and UIDL merged as sets (quirks Q4-Q9, Q13-Q15): a number in either is
 * a message; sorted by number. UIDLs are the bytes after the number without trailing
 * blanks; empty or over POP3_UIDL_MAX counts as none. Unreadable rows are counted. The
 * array lives as long as the session or until the next listing. After it a stop
 * (stop_fd) ends no wait any more, so that the session can be left in good order.
 */
struct pop3_listing {
	const struct pop3_item *items;
	const char *uidls; /* of all of them */
	size_t n;
	uint64_t octets;     /* sum of the known sizes */
	bool uidl;           /* false: the server refused UIDL */
	bool uidl_temporary; /* it refused although it advertises it (quirk Q3) */
	size_t repeated;     /* messages whose UIDL another one has too */
	size_t unreadable;   /* rows that made no sense */
	uint64_t stat_count, stat_octets; /* of STAT; UINT64_MAX: unknown */
};
enum status pop3_list(struct pop3 *p, struct pop3_listing *out, struct err *err);

/* Its bytes, not NUL-terminated; NULL when it has none. */
static inline const char *pop3_uidl(
	const struct pop3_listing *l, const struct pop3_item *it)
{
	return it->uidl_n ? l->uidls + it->uidl : NULL;
}

/* Gives the memory of the last listing back; it is void then. */
void pop3_forget(struct pop3 *p);

/*
 * Announces that these messages are wanted next, in this order (numbers and
 * expected sizes); may be called again. RETR goes out when the window has room.
 */
void pop3_want(struct pop3 *p, uint32_t number, uint64_t size);

/*
 * The next wanted message: its bytes go to take(). ST_END when nothing is
 * wanted any more. ST_SKIP: the server refused this one (EX_TEMPFAIL; err.reply has
 * its words) or it was too long (EX_PARTIAL); *number says which, the session goes on.
 * On ST_RETRY bytes given to take() must be thrown away: also when the message seemed
 * complete but bytes follow that nobody asked for, since a server that does not stuff
 * dots cuts messages in this way (quirks Q26, Q28). LF.LF is an end only where neither
 * the status line nor the message has a CRLF.
 */
enum status pop3_next(
	struct pop3 *p, uint32_t *number, mail_take *take, void *ctx, struct err *err);

/* Forgets what is wanted and no RETR was sent for. */
void pop3_wind_down(struct pop3 *p);

/* What was odd about the last message. */
enum pop3_oddity {
	POP3_ODD_NONE,
	POP3_ODD_GLUED, /* its final dot stood at the end of a line */
	POP3_ODD_UNSTUFFED, /* bytes stood behind its end, or (while others are asked for) it
			     * is smaller than any before it would have been: dots are not
			     * stuffed? */
};
enum pop3_oddity pop3_oddity(const struct pop3 *p);

/* Marks for deletion; nothing may be wanted any more. Takes effect at pop3_quit(). */
enum status pop3_dele(struct pop3 *p, uint32_t number, struct err *err);

/*
 * QUIT: the moment deletions happen. ST_OK only for "+OK". Wanted but unread
 * messages make it close without QUIT (ST_OK when nothing was marked). When messages
 * were fetched and none is marked, RSET goes before it: always, or (auto) on Dovecot
 * unless its LAST works, for then RSET would mark all mail as new.
 */
enum status pop3_quit(struct pop3 *p, struct err *err);

void pop3_cancel(struct pop3 *p);
struct conn_counts pop3_counts(const struct pop3 *p);

/* Closes at once, without QUIT: nothing is deleted. NULL is fine. */
void pop3_close(struct pop3 **p);

#endif
