/* alike.h: is what a server shows the message that was sent? */
#ifndef SINK_ALIKE_H
#define SINK_ALIKE_H

#include <popferry/config.h>
#include <popferry/mail.h>

enum likeness {
	ALIKE_NOT,
	ALIKE_NEAR, /* a server may have made this of it */
	ALIKE_SAME,
};

/*
 * Content decides, unless the job goes by the Message-ID alone. Where it keeps messages
 * that differ only in trace headers, so must this; but a server may have had to change
 * a message with NUL, bare CR or 8-bit headers, and then the rest has to do: it is
 * near.
 */
enum likeness alike_same(
	enum dedup dedup, const struct facts *ours, const struct facts *theirs);

/*
 * A copy in which the server changed something (quirk Q115), of a message that
 * was sent to it: From, Date and so on or the Message-ID are equal, and the squeezed
 * body is. alone: no other has its Message-ID, so that with both of them equal
 * it is enough that the size is right within 5 % and 2 KiB.
 */
bool alike_rewritten(const struct facts *ours, const struct facts *theirs,
	bool same_body, bool alone);

/* A copy whose first Received field is another came another way. White space and odd
 * bytes do not count; that it has none may be the server's doing. */
bool alike_trace(const struct facts *ours, const struct facts *theirs);

/* The ident of the message as Cyrus keeps it: with an X for each 8-bit byte of its
 * header. */
enum status alike_crossed(
	const struct message *m, unsigned char ident[DIGEST], struct err *err);

/*
 * The body without white space, and with every run of 8-bit bytes, controls and
 * '?' as one '?': what servers change there (quirk Q115) does not count.
 */
struct squeeze {
	struct facts_maker *out; /* for its SHA-256 */
	bool in_body, in_line, odd;
};

/* out must have been begun. */
void squeeze_put(struct squeeze *q, const char *p, size_t n);
/* Ends out too. */
void squeeze_end(struct squeeze *q, unsigned char digest[DIGEST]);

/*
 * The message as it is when NUL became 0x80 and every bare CR is gone: what IMAP
 * forces, and what servers do besides.
 */
struct plain {
	struct facts_maker *out; /* for its exact digest */
	bool cr;                 /* the last byte was one, and is still to come */
};

/* out must have been begun. */
void plain_put(struct plain *q, const char *p, size_t n);
/* Ends out too. */
void plain_end(struct plain *q, unsigned char digest[DIGEST]);

#endif
