/*
 * fakepop.h: a POP3 server on loopback with a maildrop in memory, for tests.
 *
 * The maildrop outlives connections. How the server behaves is said by struct
 * fakepop_ways or by the words of a case file; both may be changed between runs.
 * Without any it is a good server.
 *
 * It watches the client too: a command about a message that was deleted in the session,
 * and QUIT, DELE or RSET sent while the answer to a command before is not yet there (or
 * anything behind a DELE), are violations.
 *
 * The words of a case file ("pop ..."). N is a message's number as scene.h says,
 * or some of them: 1..5. MS are milliseconds.
 *
 *	msgs N                messages 1 to N, those that are not there yet; each different,
 *	                      "Subject: letter N", Message-ID <letter-N@example.org>, "(letter N)"
 *	                      in the text; UIDL "uN"
 *	retr.N WORDS          what message N is, begun anew:
 *	    body=TEXT           these bytes
 *	    header=LINE line=LINE  one line more in the header, in the text
 *	    noid sameid=K sameas=K  no Message-ID; that of K; the very bytes of K
 *	    nul nulheader barelf barecr crcrlf dots latin1  one such line
 *	    eol=lf|cr|crcrlf    all line ends but the last
 *	    empty blank headeronly noheader badheader  no byte; a blank line; no text; only that; a
 *	                        line in the header that is none
 *	    mboxfrom substitute internaldata  a "From " line before it; a placeholder; UW-IMAP's
 *	                        own message
 *	    long=BYTES size=BYTES  one line of so many; many lines, so many in all
 *	    stuff=off|lf|twice  dots are not stuffed; behind bare LF too; twice
 *	    term=none|glued|dotcr|dotlf|lf|double|extra  how it ends: not; "." at the last line's
 *	                        end; ".\r"; ".\n"; "\n.\n"; twice; a blank line follows
 *	    cut=BYTES times=K step=MORE  the connection ends there (the first K times), each
 *	                        time so many bytes later
 *	    refuse=TEXT         "-ERR TEXT" to RETR
 *	vanish LIST           these are not there, until "return LIST"
 *	order shuffle|reverse|LIST  in which it lists them; numbers go by it
 *	empty                 all are gone, and the next one is message 1
 *	uidl.N TEXT           a UIDL; "%" in it is N. long=BYTES: one of so many
 *	uidl MODE             off: refused, not offered; hidden: not offered; number: the
 *	                      number in the session; random: others in each session; reset: all
 *	                      others from now on; normal
 *	uidl.prefix TEXT uidl.suffix TEXT  before and behind all of them
 *	uidl.drop LIST list.drop LIST  no such rows
 *	uidl.extra ROW list.extra ROW  a row more
 *	uidl.raw TEXT list.raw TEXT  all rows, as they are
 *	uidl.row FORM list.row FORM  of a row: %n number, %u UIDL, %s size
 *	list.N TEXT           the size; x2, x0.5: the true one times so many
 *	rows up|down          order of the rows of a listing
 *	on COMMAND[#K][:N] ACTION [times=T] [done]
 *	                      COMMAND is one of POP3's or GREETING; #K: the Kth in a session;
 *	                      :N: for that message; T times, then never again; done: after it
 *	                      has been carried out, but not answered. ACTION:
 *	    reply TEXT          "\r\n" is added, unless it ends so; long=BYTES: "+OK yyy..."
 *	    extra TEXT          these bytes behind the answer
 *	    delay MS            then as usual
 *	    hang drop           nothing more; the connection ends
 *	    kill stop           the client's process is killed; the engine is told to stop
 *	after N RETR|BYTES drop|err|hang  in each session
 *	idle MS               a client silent for so long is dropped
 *	slow BYTES            so many in a write
 *	window N              only the N oldest; what was RETRieved is hidden after QUIT
 *	destructive quit|on|off  what was RETRieved is deleted at QUIT; at any end
 *	lock MS               the maildrop, after a session without QUIT
 *	login-delay MS        between logins, else [LOGIN-DELAY]
 *	dovecot               greets as one, pipelines, takes AUTH PLAIN in a line (so it does
 *	                      from the start with KIT_DOVECOT in the environment, and so does
 *	                      fakeimap.h's, for whole test programs)
 *	greeting TEXT
 *	capa +X -X | off      what CAPA shows (USER, UIDL, TOP); refuse it
 *	pipelining on|off|lies|ahead|swallow  offered; and commands sent ahead end the
 *	                      session; RETRs do; only the first of a segment is answered
 *	dele ok|ignored|partial=K  at QUIT nothing, or only the first K, is deleted (-ERR)
 *	inject LINE           in the header of what was RETRieved in an earlier session; "": no
 *	rerender on|off       other MIME boundaries at each RETR
 *	session K WORDS       these words when the Kth connection from now on begins
 *	well                  forgets on, after, idle, slow, lock, login-delay, pipelining, dele
 *
 * And of "expect pop-...": OP as in scene.h, all since the last run began.
 *
 *	count COMMAND OP N    commands heard
 *	seen LIST  unseen LIST  \Seen is set (by a RETR that no RSET took back); is not
 */
#ifndef PEER_FAKEPOP_H
#define PEER_FAKEPOP_H

#include <stdbool.h>
#include <stddef.h>

struct fakepop;

struct fakepop_ways {
	bool no_uidl;     /* UIDL is not offered, and refused */
	bool pipelining;  /* is offered */
	bool lies;        /* it is offered, but commands sent ahead end the session */
	bool hates_ahead; /* the same, but only for RETR */
	unsigned
		drop_after; /* RETRs a session gets, then the connection ends; 0: all */
	const char *poison; /* a message with this text: half of it, then the end */
	const char *refuse; /* a message with this text: "-ERR" */
	const char *hang;   /* a message with this text: nothing, for ever */
	const char *
		vanish; /* a message with this text is there in the first session only */
};

void fakepop_open(struct fakepop **out);
void fakepop_close(struct fakepop **p);
unsigned fakepop_port(const struct fakepop *p);
void fakepop_behave(struct fakepop *p, const struct fakepop_ways *ways);

/* The text, whole lines, is copied. uidl NULL: "uN". */
void fakepop_add(struct fakepop *p, const char *uidl, const char *text);
void fakepop_empty(struct fakepop *p);
/* Puts this before every UIDL from now on. */
void fakepop_prefix(struct fakepop *p, const char *prefix);

/* Commands that began so since it was opened. */
unsigned fakepop_count(struct fakepop *p, const char *command);

/* ---- for case files ---- */

bool fakepop_say(struct fakepop *p, int argc, char **argv, char *why, size_t cap);
bool fakepop_expect(struct fakepop *p, int argc, char **argv, char *why, size_t cap);

/* Counters of fakepop_expect() begin here. */
void fakepop_mark(struct fakepop *p);
/* Connections, and those that logged in, since then. */
unsigned fakepop_sessions(struct fakepop *p);
unsigned fakepop_logins(struct fakepop *p);

/* What the client did that it never should; NULL: nothing. */
const char *fakepop_violation(struct fakepop *p);

/* Messages there ever were since it was empty. */
unsigned fakepop_messages(struct fakepop *p);
/* The bytes a client gets of message n; NULL: none. Valid until it is changed. */
const char *fakepop_text(struct fakepop *p, unsigned n, size_t *len);
/* Its UIDL now, without NUL; NULL: none. Valid until the next call. */
const char *fakepop_uidl(struct fakepop *p, unsigned n);
/* It is in the maildrop. */
bool fakepop_holds(struct fakepop *p, unsigned n);

/* "pop on X kill" and "stop" call this, in the server's thread. */
enum fakepop_event { FAKEPOP_KILL, FAKEPOP_STOP };
void fakepop_on_event(
	struct fakepop *p, void (*tell)(void *ctx, enum fakepop_event what), void *ctx);

#endif
