/*
 * csv.h: metadata/messages.csv, one row a message.
 */
#ifndef ARCHIVE_CSV_H
#define ARCHIVE_CSV_H

#include <popferry/archive.h>
#include <popferry/buf.h>

/* The columns that are filled or read; the names of all stand in csv.c. */
enum csv_column {
	CSV_SEQ = 0,
	CSV_ID = 1,
	CSV_PATH = 2,
	CSV_SIZE = 3,
	CSV_SHA256 = 4,
	CSV_FOLDER = 7,
	CSV_UIDL = 8,
	CSV_MSGNO = 9,
	CSV_LIST_SIZE = 10,
	CSV_RETRIEVED = 11,
	CSV_INTERNAL_DATE = 12,
	CSV_DATE_HDR = 13,
	CSV_DATE_UTC = 14,
	CSV_FROM = 15,
	CSV_TO = 16,
	CSV_CC = 17,
	CSV_BCC = 18,
	CSV_SENDER = 19,
	CSV_REPLY_TO = 20,
	CSV_SUBJECT = 21,
	CSV_MESSAGE_ID = 22,
	CSV_IN_REPLY_TO = 23,
	CSV_CONTENT_TYPE = 25,
	CSV_ATTACHMENTS = 26,
	CSV_ATTACHMENT_NAMES = 27,
	CSV_FLAGS = 28,
	CSV_ANOMALIES = 29,
	CSV_ERROR = 34,
	CSV_COLUMNS = 35,
};

/*
 * A field is at most CSV_FIELD_MAX bytes of input; each may grow threefold
 * (U+FFFD). Fourteen free texts at most, so a row fits with room to spare.
 */
enum { CSV_FIELD_MAX = 4096, CSV_ROW_MAX = 192 * 1024 };

/* The line of column names. */
void csv_header(struct buf *b);

/* Any other line of so many fields; n may be NULL, or 0 for a text that ends with
 * NUL. */
void csv_line(struct buf *b, const char *const *f, const size_t *n, size_t count);

/* What a message has besides its header. */
struct csv_parted {
	unsigned attachments;
	struct buf names; /* of their files, each with "; " behind it but the last */
};

/* The line of one message, with its CRLF. b needs a ceiling of CSV_ROW_MAX. */
void csv_row(struct buf *b, uint64_t seq, const char *path, const struct message *m,
	const struct archive_entry *e, const struct csv_parted *parted);

/* ---- reading ---- */

/* A field of a line that is known to be good, as it stands there, within its quotes. */
struct csv_part {
	const char *p;
	size_t n;
};
/* The first so many. */
void csv_parts(struct csv_part *out, size_t count, const char *line, size_t n);

typedef enum status csv_take(void *ctx, char *const f[CSV_COLUMNS], struct err *err);

/* A push parser, any cutting. Each row goes to take(), the header line not. */
struct csv {
	struct buf row;         /* fields, each with a NUL behind it */
	size_t at[CSV_COLUMNS]; /* where each starts */
	size_t fields;          /* in this row */
	enum { CSV_START, CSV_IN, CSV_QUOTE, CSV_CR } state;
	bool body; /* the header line was seen */
};

void csv_init(struct csv *c);
enum status csv_feed(struct csv *c, const char *p, size_t n, csv_take *take, void *ctx,
	struct err *err);
/* ST_DENIED when it ended inside a row, or before the header line. */
enum status csv_end(const struct csv *c, struct err *err);
void csv_release(struct csv *c);

#endif
