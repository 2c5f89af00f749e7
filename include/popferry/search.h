/*
 * search.h: which messages of an archive say something.
 *
 * The index is index/catalog.sqlite in the archive. It is no evidence: it is made by
 * the first search, brought up to date by later ones, and may be deleted at any time.
 * What cannot be written there (a copy on a disc) is made in a temporary file that
 * goes away. That of an encrypted archive is in memory, and kept in
 * index/catalog-*.enc under a key that its reader alone can make.
 *
 * Errors: ST_DENIED (EX_USAGE: a bad query; EX_DATAERR: no archive, or not all of it
 * could be read), ST_RETRY (EX_TEMPFAIL: stopped, or another process brings the index
 * up to date), ST_FATAL.
 *
 * Threads: an object belongs to one thread.
 */
#ifndef POPFERRY_SEARCH_H
#define POPFERRY_SEARCH_H

#include <popferry/buf.h>
#include <popferry/err.h>
#include <popferry/mail.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- queries ---- */

/*
 *	word "two words" pref* wri*  all of them stand in it, in any field or file name
 *	from:ann subject:"year end" to: cc: bcc: body:   in that field
 *	a OR b, -a, (a b)            OR binds less than what stands side by side
 *	after:2024-01-31 before:2024 on:2024-01   INTERNALDATE; a day, month or year in UTC;
 *	                             or RFC 3339. after: has that day in it
 *	has:attachment filename:*.pdf
 *	larger:10k smaller:5M folder:NAME seq:10-20 uidl:TEXT sha256:HEX message-id:ID
 *
 * Words are compared without case and accents, and what is no letter or digit only
 * parts them.
 */
enum { QUERY_MAX = 4096, QUERY_TERMS = 64, QUERY_DEPTH = 16 };
struct identities;
struct query;
/* ST_DENIED, EX_USAGE: the text says what is wrong, and where. */
enum status query_parse(struct query **out, const char *text, struct err *err);
void query_free(struct query **q);

/* ---- the index ---- */

struct search;

struct search_how {
	bool rebuild;   /* what there is is thrown away */
	bool in_memory; /* it is in no file, and so needs memory for all of it */
	/* The index of an encrypted archive is in a file in clear, too. */
	bool plaintext;
	const struct identities
		*identities; /* who reads such an archive; may be NULL */
	/* An index of more bytes is not kept with such an archive; 0: of 1 GiB. */
	uint64_t keep_max;
	/* One sentence about what was done to the index, and why. May be NULL. */
	void (*say)(void *ctx, const char *what);
	/* Now and then while messages are read; false stops it, and what was done stays
	 * done. May be NULL. */
	bool (*go_on)(void *ctx, uint64_t done, uint64_t all);
	void *ctx;
};

/* Opens the index of the archive and brings it up to date. */
enum status search_open(struct search **out, const char *path,
	const struct search_how *how, struct err *err);
void search_close(struct search **s);
/* How many messages are in it; and how many are not, being damaged or lost. */
enum status search_count(
	struct search *s, uint64_t *in, uint64_t *unread, struct err *err);

/* ST_DENIED, EX_DATAERR: of some messages nobody can even tell how many they are. */
enum status search_whole(struct search *s, struct err *err);

/* ---- finding ---- */

enum search_order { SEARCH_SEQ, SEARCH_DATE, SEARCH_RELEVANCE };
struct search_hits {
	uint32_t *seqs; /* the numbers of all that was found, ascending */
	size_t n;
	uint32_t *first; /* and of those that come first in the order asked for */
	size_t n_first;
};
/*
 * The order: by number, the newest first, or the best first. A query without words has
 * no best: then as by date. Only `limit` are put in order.
 */
enum status search_find(struct search *s, const struct query *q,
	enum search_order order, uint64_t limit, struct search_hits *out,
	struct err *err);
void search_hits_free(struct search_hits *h);

/* A message as the index has it. Header texts are decoded, and not clean. */
struct search_found {
	uint64_t seq, size;
	struct when date;
	char sha256[2 * DIGEST + 1];
	const char *folder, *uidl, *from, *to, *cc, *subject, *message_id;
	unsigned attachments;
};
/* The texts live until the next call. ST_END: it is not in the index. */
enum status search_get(
	struct search *s, uint64_t seq, struct search_found *out, struct err *err);
/*
 * Between these the index stays as it is, and many calls of search_get() cost much
 * less. Not for long: who brings it up to date waits.
 */
enum status search_hold(struct search *s, struct err *err);
void search_let_go(struct search *s);

/* ---- what of a message can be found ---- */

enum {
	SEARCH_BODY_MAX = 1024 * 1024, /* of text; the rest is not seen */
	SEARCH_FIELD_MAX = 16 * 1024,
	SEARCH_FILES_MAX = 64 * 1024,
	SEARCH_INNER = 4, /* messages in messages in messages */
};

/* UTF-8, or nearly. files: names, each with a LF behind it. */
struct search_text {
	struct buf from, to, cc, bcc, subject, message_id, body, files;
	unsigned attachments;
};
struct extract;
void extract_begin(struct extract **out, struct search_text *to);
void extract_put(void *x, const char *p, size_t n); /* a mail_take */
void extract_end(struct extract **x);
void search_text_init(struct search_text *t);
void search_text_release(struct search_text *t);

#endif
