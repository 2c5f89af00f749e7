/*
 * mail.h: the bytes of one message, and what they say.
 *
 * Bytes are never changed on their way in. One pass over them undoes POP3's
 * dot-stuffing, stores them, computes the digests and finds the header facts.
 * All parsers take (pointer, length), keep NUL bytes, bound what they keep
 * and never fail: odd mail gives fewer facts, not an error.
 *
 * Threads: one object belongs to one thread at a time; a struct spool may be
 * shared. A finished struct message may be read by several threads.
 */
#ifndef POPFERRY_MAIL_H
#define POPFERRY_MAIL_H

#include <popferry/buf.h>
#include <popferry/err.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- where bytes go ---- */

/* Takes the next n bytes. Errors are kept by the receiver and told at its end. */
typedef void mail_take(void *ctx, const char *p, size_t n);

/* ---- POP3 multi-line replies (RFC 1939 section 3) ---- */

/*
 * The dot reader: a push parser with constant state, byte-exact. The end is
 * CRLF.CRLF and nothing else (a "." line at the very start counts too);
 * "..": the first dot goes. NUL, bare LF and bare CR are data.
 */
struct dot {
	int state; /* 0 at the start */
};

/*
 * Consumes up to n bytes, passing message bytes on to take. Returns how many
 * were consumed: n, or fewer when the terminator ended inside them, and then
 * *done is true.
 */
size_t dot_feed(struct dot *d, const char *in, size_t n, bool *done, mail_take *take,
	void *ctx);

/* ---- the store ---- */

/*
 * Bytes of messages under way. They live in memory, bounded over all by `memory`
 * bytes; those larger than SPOOL_SMALL may have a sixth of it together. A message
 * that would pass a bound lives in an unnamed temporary file in dirfd.
 */
enum { SPOOL_SMALL = 256 * 1024 };
struct spool;
struct body;

void spool_open(struct spool **out, int dirfd, size_t memory);
void spool_close(struct spool **sp);         /* every body must have been freed */
size_t spool_memory(const struct spool *sp); /* bytes of memory in use now */

void body_open(struct body **out, struct spool *sp);
/* It will have about so many bytes: it is not moved while it grows to that. */
void body_expect(struct body *b, uint64_t size);
enum status body_write(struct body *b, const char *p, size_t n, struct err *err);
uint64_t body_size(const struct body *b);
/*
 * Points *p at *n bytes at offset off: into the body itself, all that is left
 * of it, when it is in memory; else into scratch, at most cap bytes read from
 * the file. *n is 0 only at the end. ST_FATAL, EX_IOERR when the file cannot
 * be read in full.
 */
enum status body_read(const struct body *b, uint64_t off, char *scratch, size_t cap,
	const char **p, size_t *n, struct err *err);
void body_free(struct body **b);

/* ---- dates ---- */

struct when {
	bool known;
	int64_t utc; /* seconds since 1970 */
	int zone;    /* minutes east of UTC the sender wrote, -1439..1439 */
};

/*
 * RFC 5322 dates with the obsolete forms (2-digit years, named zones,
 * comments, missing weekday or seconds), and asctime and ISO 8601 dates, as
 * real mail has them. Day, month and time must exist (no 31 February, no
 * 24:00; a leap second counts as :59); an unknown zone is taken as UTC. known
 * is false otherwise.
 */
struct when date_parse(const char *p, size_t n);

/* The date after the last ';' of a Received field's value. */
struct when date_received(const char *p, size_t n);

/*
 * Fit to be an INTERNALDATE: 1981-01-01 <= d <= now + 2 days (quirk Q103).
 */
bool date_sane(const struct when *w, int64_t now);

/*
 * RFC 3501 date-time, day padded with a space: " 5-Jan-2024 10:00:00 +0100".
 * Always 26 characters. w must be known and sane. Returns out.
 */
char *date_imap(char out[32], const struct when *w);

/* ---- facts ---- */

enum { DIGEST = 32 }; /* SHA-256 */
/* That of n bytes. */
void digest_of(const void *p, size_t n, unsigned char out[DIGEST]);

/* In pieces. It may be copied. What is in it is OpenSSL's. */
struct sha {
	uint32_t state[8], count[2], block[16], used, length;
};
void sha_init(struct sha *s);
void sha_add(struct sha *s, const void *p, size_t n);
/* The same on two digests; much faster together where the processor has
 * instructions. */
void sha_add_two(struct sha *a, const void *ap, size_t an, struct sha *b,
	const void *bp, size_t bn);
/* The digest of what came so far; s begins anew. */
void sha_end(struct sha *s, unsigned char out[DIGEST]);

/* What a message has that servers or standards dislike (bits). */
enum anomaly {
	AN_NUL = 1 << 0,
	AN_BARE_LF = 1 << 1,
	AN_BARE_CR = 1 << 2,
	AN_8BIT_HEADER = 1 << 3,
	AN_NO_FINAL_EOL = 1 << 4, /* does not end in CRLF (or is empty) */
	AN_LONG_LINE = 1 << 5,    /* over 998 bytes without the LF or CRLF */
	AN_NO_MSGID = 1 << 6,     /* none, or an empty one */
	AN_NO_DATE = 1 << 7,      /* none, or one that date_parse() rejects */
	AN_MBOX_FROM = 1 << 8,    /* starts with an mbox "From " line */
	AN_HEADER_CUT = 1 << 9,   /* header block over HEADER_MAX, the rest unseen */
	AN_SCAN = 1 << 10,        /* a scanner says so; never by the bytes alone */
};
/* The names above, lower case, separated by spaces ("nul bare-lf"). */
const char *anomaly_names(unsigned bits, char out[160]);

enum { HEADER_MAX = 1024 * 1024, FACT_MAX = 4096 };

/*
 * Everything computed in the one pass. Texts are the first field of that name,
 * unfolded, trimmed, at most FACT_MAX bytes, NUL bytes as U+FFFD; NULL when absent.
 * They are raw mail: clean before printing.
 *
 * The digests that judge (research: dedup section 3.2):
 *   sha256  all bytes as received: the record.
 *   exact   CRLF, CR, LF (and CR CR LF) counted as one line end; an mbox
 *           "From " line and the headers that stores inject (Content-Length,
 *           Status, X-Status, X-IMAP, X-IMAPbase, X-Keywords, X-Message-Flag,
 *           X-UID, X-UIDL, X-Yahoo-Newman-Property, Return-Path, X-POP3-Rcpt)
 *           left out; blank lines at the end not counted.
 *   body    what follows the first blank line, line ends and end as above.
 *           Header lines that are no fields come before it: they are content
 *           that stands in the wrong place. All of the message when no blank
 *           line is found within HEADER_MAX bytes.
 *   loose   body for comparing with a stored copy: every CR deleted, NUL as
 *           0x80, line ends at the end not counted (equal after Dovecot, Cyrus
 *           and Courier for all they accept).
 *   ident   From, Date, Subject, To, Cc, List-Id: each folded so that white
 *           space does not count and runs of 8-bit, control or '?' bytes are
 *           one '?'.
 *   msgid   of the normalised Message-ID, when has_msgid.
 *
 * The first blank line is not one that stands before the first field.
 */
struct facts {
	uint64_t size; /* bytes as received */
	uint64_t wire; /* bytes in the form that goes up by IMAP (see wire_*) */
	unsigned char sha256[DIGEST];
	unsigned char exact[DIGEST];
	unsigned char body[DIGEST];
	unsigned char loose[DIGEST];
	unsigned char ident[DIGEST];
	unsigned char msgid[DIGEST];
	/* False also for two different Message-IDs, or one over 998 bytes. */
	bool has_msgid;
	unsigned anomalies;
	/* Bytes up to and with the blank line, at most HEADER_MAX. */
	uint32_t header_size;
	char *texts;      /* what holds those that follow */
	char *message_id; /* normalised, see msgid_normal() */
	char *date, *received, *from, *to, *cc, *subject, *list_id, *status, *x_status;
	char *bcc, *sender, *reply_to, *in_reply_to, *content_type, *disposition;
	struct when date_when, received_when;
};

/* Computes facts from bytes given in order, in any cutting. */
struct facts_maker;
void facts_begin(struct facts_maker **out);
void facts_put(struct facts_maker *fm, const char *p, size_t n);
/* SHA-256 of what came so far. */
void facts_sha256(const struct facts_maker *fm, unsigned char out[DIGEST]);
/* True: the header has ended, and *end bytes are the facts' header_size. */
bool facts_header(const struct facts_maker *fm, size_t *end);
/* Fills *f (facts_release() it) and frees *fm. f may be NULL: given up. */
void facts_end(struct facts_maker **fm, struct facts *f);
void facts_release(struct facts *f);

/*
 * Appends the normal form of a Message-ID field's value: its first <...>
 * outside a comment, else all of it in brackets, without white space. False,
 * and nothing added, when it holds none or has control characters.
 */
bool msgid_normal(const char *p, size_t n, struct buf *out);

/*
 * Appends a header text with its encoded words (RFC 2047) decoded to UTF-8;
 * what is none, or cannot be decoded, stays as it is. For showing only, and to
 * be cleaned after: a word may hold anything. False at the buffer's ceiling.
 */
bool mime_decode(const char *p, size_t n, struct buf *out);

/* ---- a message ---- */

struct message {
	struct body *body; /* owned; NULL: shed */
	struct facts facts;
};

/* Stores and judges in one pass; mail_take-compatible. */
struct message_maker;
void message_begin(struct message_maker **out, struct spool *sp);
void message_expect(struct message_maker *mk, uint64_t size); /* as body_expect() */
/* Of this one no more is kept than its header and `first` bytes of what follows. */
void message_keep_first(struct message_maker *mk, size_t first);
void message_put(void *maker, const char *p, size_t n);
/* Bytes that came so far, kept or not. */
uint64_t message_came(const struct message_maker *mk);
/* SHA-256 of what came so far. False when the store failed, and it is not known. */
bool message_sha256(const struct message_maker *mk, unsigned char out[DIGEST]);
/* Frees *mk. *out is yours on ST_OK; ST_FATAL when the store failed. */
enum status message_end(
	struct message_maker **mk, struct message **out, struct err *err);
void message_drop(struct message_maker **mk); /* gives up a half-read one */
/* Its text is needed no more: its memory, or file, is given back. Facts stay. */
void message_shed(struct message *m);
void message_free(struct message **m);

/*
 * The n-th (from 0) field called name (any case) of the header, unfolded and
 * trimmed, at most FACT_MAX bytes. False when there is none. Reads the body.
 */
bool message_field(
	const struct message *m, const char *name, unsigned n, struct buf *out);

/* ---- the form that goes up by IMAP ---- */

/*
 * Bare LF becomes CRLF, NUL becomes 0x80, CRLF is added at the end when
 * missing, also to an empty message (quirks Q78-Q80); nothing else changes,
 * and when `facts.wire == facts.size` and there is no AN_NUL the body goes up
 * as it is. The result is exactly facts.wire bytes.
 */
struct wire {
	const struct message *m;
	uint64_t off; /* in the body */
	char last;    /* byte that went out */
	bool ended;
};
void wire_begin(struct wire *w, const struct message *m);
/*
 * The next piece into out (cap >= 2 bytes, sensibly 4096 and more) or, when
 * nothing must change, straight from the body: *p and *n. *n is 0 at the end.
 */
enum status wire_next(struct wire *w, char *out, size_t cap, const char **p, size_t *n,
	struct err *err);
/* SHA-256 of the form that goes up. */
enum status wire_digest(
	const struct message *m, unsigned char out[DIGEST], struct err *err);

/* ---- forms for servers that refuse a message as it is ---- */

/*
 * repair: the header alone, and as little of it as possible. An mbox "From "
 *         line and blank lines before the first field go; a line that is no
 *         field is made one by "X-Unparsable: "; blanks before a colon go; 8-bit bytes
 *         become encoded words (RFC 2047) or, where none can stand, '?'; lines over
 *         998 bytes are folded at blanks. The rest is what goes up by IMAP anyway.
 * wrap:   a new message with From, To, Cc, Subject, Date, Message-ID, References and
 *         In-Reply-To of the old one, which is attached: as message/rfc822, or,
 *         when it has odd bytes, lines or header, byte for byte in base64.
 *
 * A form depends on nothing but the message, is all CRLF and without NUL, and
 * its header is ASCII with lines of at most 998 bytes (save repaired lines without
 * a blank).
 */
enum rescue { RESCUE_NONE, RESCUE_REPAIR, RESCUE_WRAP };
/*
 * Gives the form out in pieces; all memory it needs is for headers. ST_END, and
 * nothing given: the header has nothing to repair. ST_FATAL: the spool failed.
 */
enum status rescue_write(enum rescue how, const struct message *m, mail_take *take,
	void *ctx, struct err *err);
/* The same as a message of its own. */
enum status rescue_make(struct message **out, enum rescue how, const struct message *m,
	struct spool *sp, struct err *err);
/* Its header only, up to and with the blank line. buf_free(out) whatever it returns. */
enum status rescue_head(
	enum rescue how, const struct message *m, struct buf *out, struct err *err);

/* ---- folder names ---- */

/*
 * Inside popferry a folder name is UTF-8 with '/' between its parts.
 * utf7_encode() gives modified UTF-7 (RFC 3501 section 5.1.3); false when s
 * is not UTF-8. utf7_decode() is strict; false keeps the name opaque.
 */
bool utf7_encode(const char *s, struct buf *out);
bool utf7_decode(const char *s, struct buf *out);

/*
 * One part of a folder name made fit for a server (quirk Q97): control
 * characters, the delimiter, '/', '\\', '%', '*', '"', '^' and broken UTF-8
 * become '_'; blanks are collapsed and trimmed; a leading '~' or '#', and parts
 * "." and "..", get a '_' in front; cut to 64 bytes, the mark included, at a
 * character's border. Never gives an empty part. When something changed, "~" and
 * 6 hex digits of the part's SHA-256 are added as a mark, so that different
 * names stay different; so a name that ends like a mark is marked again, and
 * a clean name must not be cleaned twice. delimiter 0: none.
 */
void name_part(const char *part, size_t n, char delimiter, struct buf *out);

/* name_part() on each part of a '/'-separated name; empty parts go. */
void name_clean(const char *name, char delimiter, struct buf *out);

#endif
