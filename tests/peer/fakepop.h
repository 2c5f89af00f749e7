/*
 * fakepop.h: a POP3 server on loopback with a maildrop in memory, for tests.
 *
 * The maildrop outlives connections. How the server behaves is said by struct
 * fakepop_ways, which may be changed between runs; all zero is a good server.
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

/* The text, whole lines, is kept by reference. uidl NULL: "uN". */
void fakepop_add(struct fakepop *p, const char *uidl, const char *text);
void fakepop_empty(struct fakepop *p);
/* Puts this before every UIDL from now on. */
void fakepop_prefix(struct fakepop *p, const char *prefix);

/* Commands that began so since it was opened. */
unsigned fakepop_count(struct fakepop *p, const char *command);

#endif
