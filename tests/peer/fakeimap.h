/*
 * fakeimap.h: an IMAP server on loopback with mailboxes in memory, for tests.
 *
 * The mailboxes outlive connections. How the server behaves is said by struct
 * fakeimap_ways or, word by word, by fakeimap_say(); at first it is a good server.
 * It is careless in one respect, on purpose: after it has refused the arguments of an
 * APPEND it takes what follows for commands, and carries them out.
 *
 * The directives of fakeimap_say(). Counts (k, K, N) begin with 1 at the last
 * directive. TEXT is a reply without its tag: "NO [TOOBIG] no". times=K: only so often;
 * skip=K: not the first K times.
 *
 *	well                            a good server again; mailboxes stay as they are
 *	empty                           all mail there is gone
 *	capa +X -Y | = X Y              capabilities; "capa before ...": only before login,
 *	                                "capa after ...": only then
 *	greeting TEXT [times=K]         "PREAUTH hello", "BYE busy"
 *	login reply TEXT [times=K]      to LOGIN and AUTHENTICATE
 *	connections N [TEXT]            so many at a time, not one after the other; to
 *	                                one more TEXT is the greeting ("BYE too many")
 *	need id                         SELECT without ID before is refused
 *	on CMD tagged TEXT              the answer to a command, which is not carried out. CMD
 *	                                is a verb, "SELECT[2]" the second, * any; FETCH, SEARCH
 *	                                (the UID kinds), LIST-RETURN, CREATE-USE
 *	on CMD untagged "* ..."         said before it is carried out
 *	on CMD end=lost|rst|hang|bye    in place of the answer; bye TEXT; args=PATTERN: only
 *	                                with such arguments; times=K, skip=K
 *	bad CMD ...                     on CMD tagged "BAD ...", each
 *	slow N                          writes N bytes at a time
 *	linemax N                       a longer command is BAD
 *
 *	append ...  append[k] ...  append~"text" ...
 *	                                any message, the k-th offered, those with the text;
 *	                                MULTIAPPEND is judged as a whole. Options:
 *	    tagged TEXT                 the answer
 *	    commit=yes|no|early|late:MS stored in spite of tagged or end; early: by the last
 *	                                byte of the literal, not of the command
 *	    end=lost|rst|hang, bye TEXT in place of the answer
 *	    end=drop@B                  the connection ends after B bytes of this command
 *	    untagged "* ..."            before the answer
 *	    mutate=KIND  uid=KIND       as below, for this one
 *	mutate KIND                     ws 8bitx dropreceived lf msgid remime nul80 addheader
 *	uid KIND                        APPENDUID is: none wrong zero same validity
 *	literal refuse tagged|untagged|silence|bye [TEXT] [over=N] [times=K]
 *	                                in place of "+"; over=N: only literals of more bytes
 *	maxmsg N [TEXT]                 larger messages are refused, at their size if asked
 *	appendlimit N                   what STATUS (APPENDLIMIT) says
 *	quota N [TEXT]                  messages there may be
 *	quotaroot USED LIMIT            what GETQUOTAROOT says, in KiB; with the capability
 *	reject RULE [TEXT]              nul barelf 8bit-header long-line:N bad-header
 *	                                no-final-crlf empty flags date mboxfrom
 *	kill-on RULE [TEXT]             the same, with "* BYE TEXT"
 *	gmail                           an equal message in the mailbox is not stored again,
 *	                                but answered with a new UID
 *	deliver "text" [box=B] [at=K]   by somebody else: now, or before the K-th is stored
 *	expunge N [box=B] [at=K]        message N (oldest is 1) goes: now, or after the K-th
 *	bye after N                     messages a session may store
 *
 *	ns PREFIX DELIM [PREFIX DELIM]  NAMESPACE, with names outside the first refused;
 *	                                DELIM may be NIL; "ns none": no personal one
 *	delimiter D                     of LIST; NIL: flat
 *	box NAME [attr="\\Sent"] [readonly] [noselect] [noinferiors]
 *	names nocase                    mailbox names are the same in any case
 *	names refuse "%*"               characters CREATE refuses
 *	names depth N                   CREATE refuses deeper names
 *	create TEXT [commit=yes]        the answer to CREATE; nothing is made without commit=yes
 *	create lower                    "Archive" is made as "archive"
 *	create noselect-parents         CREATE a/b makes a \Noselect
 *	vanish NAME after=N             it is renamed to "gone" once N messages were stored
 *	select readonly                 whatever is selected
 *	xlist only                      special uses are told by XLIST, not by LIST
 *	uidvalidity N | zero | missing | bump | bump@reconnect | bump@append:K
 *	uidnext zero|missing
 *	exists N                        more than the newest N are not shown
 *	visible reselect                a session sees only what was there at SELECT
 *	fetch trunc:N [quiet]           answers for the newest N, with [MESSAGELIMIT N uid];
 *	                                quiet: for the oldest N, and OK
 *	fetch headless                  HEADER.FIELDS are empty, as Courier answers where it
 *	                                does not like the header
 *	fetch cut:BYTES [step=MORE] [times=K]
 *	                                the connection ends there in a longer text, each time
 *	                                so many bytes later
 *	search lie                      SEARCH finds nothing
 *
 * What fakeimap_expect() knows ("expect imap-NAME ..." in a case):
 *
 *	box NAME                        there is such a mailbox
 *	no-box NAME                     there is none
 *	subscribed BOX                  SUBSCRIBE was said for it
 *	said "text"                     a command with this text came
 *	never-said "text"               none came
 *	logins|changes|fetches [OP] N   since the mailboxes were made: LOGINs; APPENDs and
 *	                                CREATEs carried out; FETCHes of whole messages
 */
#ifndef PEER_FAKEIMAP_H
#define PEER_FAKEIMAP_H

#include <stdbool.h>
#include <stddef.h>

struct fakeimap;

enum commit {
	COMMIT_NO,
	COMMIT_YES,
	COMMIT_LATE, /* seen only after late_ms */
};

struct fakeimap_ways {
	const char *capabilities; /* NULL: UIDPLUS LITERAL+ MULTIAPPEND */
	const char *refuse;  /* an APPEND with this text in one of its messages ... */
	const char *refusal; /* ... is answered so: "NO [TOOBIG] no" */
	bool refuse_dates; /* an APPEND with a date: BAD, and its literal is not read */
	/* An APPEND with this text: the connection ends in place of the answer, the
	 * first drop_times times (0: always). */
	const char *drop;
	unsigned drop_times;
	unsigned drop_skip; /* so many such APPENDs are taken before */
	enum commit commit;
	unsigned late_ms;
	unsigned bye_after; /* messages a session may store, then "* BYE"; 0: all */
	unsigned
		ill_after; /* messages there are, then "* BYE" to each APPEND; 0: never */
	unsigned quota;    /* messages there may be; 0: no end */
	const char *hang;    /* an APPEND with this text: no answer, for ever */
	bool same_uid;       /* every APPENDUID says UID 1 */
	bool down;           /* "* BYE" for a greeting */
	unsigned down_after; /* the same once there are so many messages; 0: never */
};

void fakeimap_open(struct fakeimap **out);
void fakeimap_close(struct fakeimap **s);
unsigned fakeimap_port(const struct fakeimap *s);
/* Until no connection is served any more; false: some still are after 5 s. */
bool fakeimap_idle(struct fakeimap *s);
void fakeimap_behave(struct fakeimap *s, const struct fakeimap_ways *ways);
/* Carries out one directive. False: it is none, and why (cap bytes) says so. */
bool fakeimap_say(struct fakeimap *s, int argc, char **argv, char *why, size_t cap);
/* Is it true? argv is a line of the second table above. */
bool fakeimap_expect(struct fakeimap *s, int argc, char **argv, char *why, size_t cap);

/* Puts a message there, as somebody else's program would. */
void fakeimap_put(struct fakeimap *s, const char *box, const char *text);
/* Gives every mailbox another UIDVALIDITY and its messages other UIDs. */
void fakeimap_renumber(struct fakeimap *s);
void fakeimap_empty(struct fakeimap *s);
/* Empties them and begins with UID 1 again, under the same UIDVALIDITY. */
void fakeimap_forget(struct fakeimap *s);

/* Messages sent here with exactly this text, in all mailboxes; NULL: with any. */
unsigned fakeimap_copies(struct fakeimap *s, const char *text);
/* Shows every message as it was sent, whatever the server made of it. */
void fakeimap_each(struct fakeimap *s,
	void (*each)(void *ctx, const char *box, const char *text, size_t n),
	void *ctx);
unsigned fakeimap_in(struct fakeimap *s, const char *box);
bool fakeimap_has(struct fakeimap *s, const char *box);
/* APPEND and CREATE commands carried out, or FETCHes of whole messages. */
unsigned fakeimap_changes(struct fakeimap *s);
unsigned fakeimap_fetches(struct fakeimap *s);
unsigned fakeimap_logins(struct fakeimap *s);

#endif
