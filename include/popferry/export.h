/*
 * export.h: which messages of an archive, and out of it in other formats.
 *
 * Threads: an object belongs to one thread.
 */
#ifndef POPFERRY_EXPORT_H
#define POPFERRY_EXPORT_H

#include <popferry/archive.h>
#include <popferry/buf.h>
#include <popferry/err.h>
#include <popferry/hand.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- a choice of messages ---- */

struct choice;

/*
 * From words, all of which must hold; none: every message. Numbers are one word
 * together: "7 10-20" is all of these. ST_DENIED, EX_USAGE for a word that is none.
 *
 *	7 10-20 90-     numbers
 *	folder:NAME     and the folders in it; * and ? stand for some and one character
 *	from: to: cc: subject:   the decoded text has this in it (* and ? as above)
 *	uidl:TEXT       exactly
 *	id:TEXT <TEXT>  Message-ID, exactly
 *	sha256:HEX      8 digits or more of the start
 *	since:DATE before:DATE   INTERNALDATE (after: is since:); YYYY-MM-DD in UTC, or RFC 3339
 *	larger:SIZE smaller:SIZE   1000, 10k, 5M
 *	flag:WORD anomaly:WORD   one of the words that stand there
 */
enum status choice_make(
	struct choice **out, char *const *words, size_t n, struct err *err);
void choice_free(struct choice **c);
bool choice_has(const struct choice *c, const struct archive_row *row);
/* Of these numbers alone, which ascend; the list is copied. */
void choice_among(struct choice *c, const uint32_t *seqs, size_t n);
/* It asks for nothing but numbers. */
bool choice_numbers(const struct choice *c);
/* The number, when the words are that number alone; 0 otherwise. */
uint64_t choice_only(const struct choice *c);

/* ---- one row for programs ---- */

/* Appends a JSON object without line end. Header texts are decoded and clean. */
void row_json(struct buf *b, const struct archive_row *row);

/* ---- export ---- */

struct export_format {
	const char *name, *what; /* what: for `--help` */
};
/* All formats, ended by a NULL name. */
const struct export_format *export_formats(void);

struct export_done {
	uint64_t all, all_bytes;  /* that were chosen */
	uint64_t messages, bytes; /* exported */
	uint64_t bad;             /* left out */
	uint64_t good;            /* of a program: it ended with 0 */
};

struct export_job {
	const char *format, *target;
	const struct choice *choice;
	bool excel_safe; /* tables: a field that a spreadsheet would execute gets a ' */
	const char *agent; /* "popferry 1.0": who says so in the manifest */
	/* Called before each message; false stops it (ST_RETRY, EX_TEMPFAIL). May be
	 * NULL. */
	bool (*go_on)(void *ctx, const struct export_done *done);
	/* One sentence about a message that is left out. */
	void (*bad)(void *ctx, const char *what);
	/*
	 * Not NULL: each message goes to this program, at_once at a time, and to no
	 * target, which is NULL with format. ran() is called after each, by one thread
	 * at a time, in the order in which they end.
	 */
	const struct hand *hand;
	unsigned at_once;
	int stop_fd; /* as for hand_run() */
	void (*ran)(
		void *ctx, const struct archive_row *row, const struct hand_answer *a);
	void *ctx;
};

/*
 * Writes the chosen messages to a new file or directory `target`, and beside it
 * `target`.sha256, which `sha256sum -c` reads in the folder they stand in. Each
 * message is compared with its recorded SHA-256 before it is written. Until all is
 * durable both have other names; a target that exists is refused (ST_DENIED,
 * EX_CANTCREAT).
 *
 * ST_OK: all chosen messages are there. ST_END: none was chosen, and nothing was made.
 * ST_DENIED and EX_DATAERR with done->bad or damaged tables: all but these are there.
 * Any other failure leaves nothing behind.
 */
enum status export_run(struct archive_reader *r, const struct export_job *job,
	struct export_done *done, struct err *err);

#endif
