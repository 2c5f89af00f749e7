/*
 * fakeimap.h: an IMAP server on loopback with mailboxes in memory, for tests.
 *
 * The mailboxes outlive connections. How the server behaves is said by struct
 * fakeimap_ways, which may be changed between runs; all zero is a good server.
 * It is careless in one respect, on purpose: after it has refused the arguments of an
 * APPEND it takes what follows for commands, and carries them out.
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
void fakeimap_behave(struct fakeimap *s, const struct fakeimap_ways *ways);

/* Puts a message there, as somebody else's program would. */
void fakeimap_put(struct fakeimap *s, const char *box, const char *text);
/* Gives every mailbox another UIDVALIDITY and its messages other UIDs. */
void fakeimap_renumber(struct fakeimap *s);
void fakeimap_empty(struct fakeimap *s);
/* Empties them and begins with UID 1 again, under the same UIDVALIDITY. */
void fakeimap_forget(struct fakeimap *s);

/* Messages with exactly this text in all mailboxes; NULL: with any. */
unsigned fakeimap_copies(struct fakeimap *s, const char *text);
unsigned fakeimap_in(struct fakeimap *s, const char *box);
bool fakeimap_has(struct fakeimap *s, const char *box);
/* APPEND and CREATE commands carried out, or FETCHes of whole messages. */
unsigned fakeimap_changes(struct fakeimap *s);
unsigned fakeimap_fetches(struct fakeimap *s);
unsigned fakeimap_logins(struct fakeimap *s);

#endif
